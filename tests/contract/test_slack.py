"""Slack against the published descriptions: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.slack import Slack, SlackWebhook
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.outcomes import Done, NotFound, Outcome, Permanent, Retryable
from refundflow.flow.compose import Composer, sample_contexts
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, specs

STEP = StepKey("RF-01JQZ7K3M0ABCDE.notify.1")
CHANNEL = "C0123456789"
TS = "1795424405.000100"


def command() -> SendMessage:
    """The case report as it is really written."""
    report = Composer().compose("case_report", "slack", sample_contexts("case_report")[0])
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
    described = json.loads(description().read_text(encoding="utf-8"))
    answers = described["paths"]["/chat.postMessage"]["post"]["responses"]
    errors = answers["default"]["content"]["application/json"]["schema"]["properties"]["error"]["enum"]
    assert sorted(errors) == sorted(code for code, _ in outcomes())


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
