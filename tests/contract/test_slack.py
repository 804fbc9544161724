"""Slack against the published descriptions: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from refundflow.connectors.slack import Slack, SlackInbound, SlackWebhook
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import OperatorWord
from refundflow.domain.outcomes import Done, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.flow.compose import Composer, sample_contexts
from refundflow.settings import Secret
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, specs

STEP = StepKey("RF-01JQZ7K3M0ABCDE.notify.1")
CHANNEL = "C0123456789"
TS = "1795424405.000100"


def command() -> SendMessage:
    """The report of a case that waits for a decision, as it is really written."""
    held = replace(sample_contexts("case_report")[0], case_id="RF-01JQZ7K3M0ABCDE", case_state="held")
    report = Composer().compose("case_report", "slack", held)
    return SendMessage(
        step_key=STEP,
        key=wire_key(STEP, 1),
        to=CHANNEL,
        template="case_report",
        subject=report.subject,
        text=report.text,
        blocks=report.blocks,
    )


def description() -> Path:
    return specs("slack") / "slack_web_api.openapi.json"


def message(op: str) -> dict[str, Any]:
    metadata = {"event_type": "refundflow_case", "event_payload": {"op": op}}
    return {"type": "message", "text": "hello", "ts": TS, "metadata": metadata}


def test_a_post_is_what_the_description_allows() -> None:
    spec = description()
    posted = {"ok": True, "channel": CHANNEL, "ts": TS, "message": message(STEP)}
    check_response(spec, "POST", "/chat.postMessage", 200, posted)
    vendor = FakeHttp(answer(200, posted))
    assert Slack(vendor).send_message(command()) == Done(f"{CHANNEL}:{TS}")
    check_request(spec, "POST", "/chat.postMessage", vendor.sent)
    check_document(specs("slack") / "incoming_webhook.request.schema.json", vendor.sent.json)


def test_an_update_is_what_the_description_allows() -> None:
    spec = description()
    updated = {"ok": True, "channel": CHANNEL, "ts": TS, "text": "hello", "message": message(STEP)}
    check_response(spec, "POST", "/chat.update", 200, updated)
    for blocks in (command().blocks, ""):
        vendor = FakeHttp(answer(200, updated))
        assert Slack(vendor).send_message(
            replace(command(), updates=f"{CHANNEL}:{TS}", blocks=blocks)
        ) == Done(f"{CHANNEL}:{TS}")
        check_request(spec, "POST", "/chat.update", vendor.sent)


def described_errors(path: str) -> list[str]:
    described = json.loads(description().read_text(encoding="utf-8"))
    answers = described["paths"][path]["post"]["responses"]
    schema = answers["default"]["content"]["application/json"]["schema"]
    return sorted(schema["properties"]["error"]["enum"])


def update_outcomes() -> list[tuple[str, type[Outcome] | None]]:
    """What an update's error is read as; None: the message cannot be changed, and a new one is posted."""
    kinds: dict[type[Outcome] | None, str] = {
        None: "message_not_found cant_update_message channel_not_found edit_window_closed is_inactive",
        Permanent: "msg_too_long too_many_attachments no_text invalid_arg_name invalid_array_arg invalid_charset "
        "invalid_form_data invalid_post_type missing_post_type invalid_json json_not_object",
        Retryable: "rate_limited not_authed invalid_auth account_inactive token_revoked no_permission request_timeout",
        Unknown: "fatal_error upgrade_required",
    }
    return [(code, kind) for kind, codes in kinds.items() for code in codes.split()]


@pytest.mark.parametrize(("code", "kind"), update_outcomes())
def test_every_described_error_of_an_update_is_read(code: str, kind: type[Outcome] | None) -> None:
    refused = {"ok": False, "error": code}
    check_response(description(), "POST", "/chat.update", 400, refused)
    vendor = FakeHttp(answer(200, refused), *([answer(503)] if kind is None else []))
    outcome = Slack(vendor).send_message(replace(command(), updates=f"{CHANNEL}:{TS}"))
    assert isinstance(outcome, kind or Unknown)
    assert vendor.is_drained


def test_no_described_error_of_an_update_is_left_out() -> None:
    assert described_errors("/chat.update") == sorted(code for code, _ in update_outcomes())


def outcomes() -> list[tuple[str, type[Outcome]]]:
    kinds: dict[type[Outcome], str] = {
        Permanent: "channel_not_found not_in_channel is_archived msg_too_long no_text too_many_attachments invalid_arg_name "
        "invalid_array_arg invalid_charset invalid_form_data invalid_post_type missing_post_type",
        Retryable: "rate_limited not_authed invalid_auth account_inactive",
    }
    return [(code, kind) for kind, codes in kinds.items() for code in codes.split()]


@pytest.mark.parametrize(("code", "kind"), outcomes())
def test_every_described_error_of_a_post_is_read(code: str, kind: type[Outcome]) -> None:
    refused = {"ok": False, "error": code}
    # A refusal comes with a 200 all the same; the description files it under `default`.
    check_response(description(), "POST", "/chat.postMessage", 400, refused)
    assert isinstance(Slack(FakeHttp(answer(200, refused))).send_message(command()), kind)


def test_no_described_error_is_left_out_of_the_test_above() -> None:
    assert described_errors("/chat.postMessage") == sorted(code for code, _ in outcomes())


def test_a_look_asks_and_reads_as_described() -> None:
    spec = description()
    rest = {"has_more": False, "pin_count": 0, "channel_actions_ts": None, "channel_actions_count": 0}
    for op, found in (
        (STEP, Done(f"{CHANNEL}:{TS}")),
        ("RF-0.notify.1", NotFound(60.0, "no message in the channel's history carries our reference")),
    ):
        page = {"ok": True, "messages": [message(op)], **rest}
        check_response(spec, "GET", "/conversations.history", 200, page)
        vendor = FakeHttp(answer(200, page))
        assert Slack(vendor).find_send_message(command()) == found
        check_request(spec, "GET", "/conversations.history", vendor.sent)


def test_a_second_page_is_asked_for_as_described() -> None:
    page = {
        "ok": True,
        "messages": [message("x")],
        "has_more": True,
        "response_metadata": {"next_cursor": "bmV4dA=="},
    }
    vendor = FakeHttp(answer(200, page), answer(200, {"ok": True, "messages": [], "has_more": False}))  # fmt: skip
    Slack(vendor).find_send_message(command())
    check_request(description(), "GET", "/conversations.history", vendor.requests[1])


def test_the_check_asks_and_reads_as_described() -> None:
    spec = description()
    who = {"ok": True, "url": "https://shop.slack.com/", "team": "A Shop", "user": "refundflow", "team_id": "T12345678",
           "user_id": "U12345678", "bot_id": "B12345678"}  # fmt: skip
    check_response(spec, "GET", "/auth.test", 200, who)
    vendor = FakeHttp(answer(200, who))
    assert Slack(vendor).check().is_ok
    check_request(spec, "GET", "/auth.test", vendor.sent)


def test_a_webhook_is_posted_what_the_description_allows() -> None:
    vendor = FakeHttp(answer(200, "ok"))
    assert SlackWebhook(vendor).send_message(command()) == Done(
        "", "posted; an incoming webhook tells no message id"
    )
    check_document(specs("slack") / "incoming_webhook.request.schema.json", vendor.sent.json)


def test_a_click_is_read_as_described() -> None:
    schema = specs("slack") / "block_actions.request.schema.json"
    buttons = json.loads(command().blocks)[-1]
    for button, is_approved in zip(buttons["elements"], (True, False), strict=True):
        payload = {
            "type": "block_actions",
            "user": {"id": "U024BE7LH", "username": "grace", "team_id": "T024BE7LD"},
            "api_app_id": "A0F7YS25R",
            "team": {"id": "T024BE7LD", "domain": "a-shop"},
            "container": {"type": "message", "message_ts": TS, "channel_id": CHANNEL, "is_ephemeral": False},
            "channel": {"id": CHANNEL, "name": "cancellations"},
            "message": message(STEP),
            "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
            "response_url": "https://hooks.slack.com/actions/AABA1ABCD/1232321423432/D09sSasdasdAS9091209",
            "actions": [{**button, "block_id": "=qXel", "action_ts": "1795600000.000001"}],
        }
        check_document(schema, payload)
        body = urlencode({"payload": json.dumps(payload)}).encode()
        assert SlackInbound(Secret("s")).read_event("block_actions", body) == OperatorWord(
            "slack", "RF-01JQZ7K3M0ABCDE", is_approved, "U024BE7LH"
        )
