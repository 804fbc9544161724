"""Slack: what a message is posted as, how it is found again in the channel, and what a webhook cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.slack import (
    ERRORS,
    SPEC,
    WEBHOOK_ERRORS,
    WEBHOOK_SPEC,
    Credentials,
    Slack,
    SlackWebhook,
    build,
    opened_at,
)
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, case_of, mint_case_id, mint_step_key, wire_key
from refundflow.domain.outcomes import Done, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Response
from refundflow.transport.redact import Redaction
from tests.support.fake_http import FakeHttp, FakeWire, answer

OPENED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
STEP = mint_step_key(mint_case_id(OPENED, 77), "notify", 1)
BLOCKS: list[dict[str, Any]] = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "*RF-77* &lt;!channel&gt;", "verbatim": True}}
]
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to="C0123456789",
    template="case_report",
    subject="",
    text="RF-77: order 1001 of <!channel> & co",
    blocks=json.dumps(BLOCKS),
)
CONTENT = {
    "text": "RF-77: order 1001 of &lt;!channel&gt; &amp; co",
    "unfurl_links": False,
    "unfurl_media": False,
    "blocks": BLOCKS,
}
NOT_THERE = NotFound(60.0, "no message in the channel's history carries our reference")


def slack(vendor: FakeHttp, channel: str = "") -> Slack:
    return Slack(vendor, channel)


def message(op: str, ts: str = "1795424405.000100") -> dict[str, Any]:
    return {
        "type": "message",
        "text": "hello",
        "ts": ts,
        "metadata": {"event_type": "refundflow_case", "event_payload": {"case": "RF-77", "op": op}},
    }


def history(*messages: Any, cursor: str = "", has_more: bool = False) -> Response:
    body = {"ok": True, "messages": list(messages), "has_more": has_more or bool(cursor)}
    return answer(200, {**body, "response_metadata": {"next_cursor": cursor}})


def test_a_message_is_posted_with_our_reference_in_its_metadata_and_its_text_escaped() -> None:
    vendor = FakeHttp(
        answer(200, {"ok": True, "channel": "C0123456789", "ts": "1795424405.000100", "message": {}})
    )
    assert slack(vendor).send_message(COMMAND) == Done("C0123456789:1795424405.000100")
    assert vendor.calls == ["POST /chat.postMessage"]
    assert vendor.sent.headers == {"Content-Type": "application/json; charset=utf-8"}
    assert vendor.sent.json == {
        "channel": "C0123456789",
        **CONTENT,
        "metadata": {"event_type": "refundflow_case", "event_payload": {"case": case_of(STEP), "op": STEP}},
    }  # fmt: skip


def test_a_message_that_names_no_channel_goes_to_the_one_of_the_settings() -> None:
    vendor = FakeHttp(always=answer(503))
    for to in ("", "C9"):
        slack(vendor, "C1").send_message(replace(COMMAND, to=to))
    assert [request.json["channel"] for request in vendor.requests] == ["C1", "C9"]


def test_without_any_channel_nothing_is_called() -> None:
    vendor = FakeHttp()
    assert slack(vendor).send_message(replace(COMMAND, to="")) == Permanent(
        "no_channel", "no Slack channel is set for this message"
    )
    assert vendor.requests == []


@pytest.mark.parametrize("blocks", ["", "{", "[]", "{}", "null", "[1]", json.dumps(BLOCKS * 51)])
def test_blocks_that_slack_could_not_read_are_left_out_and_the_text_goes(blocks: str) -> None:
    vendor = FakeHttp(answer(503))
    slack(vendor).send_message(replace(COMMAND, blocks=blocks))
    assert "blocks" not in vendor.sent.json
    assert vendor.sent.json["text"] == "RF-77: order 1001 of &lt;!channel&gt; &amp; co"


def test_a_text_that_is_too_long_is_cut_before_it_is_escaped() -> None:
    vendor = FakeHttp(answer(503))
    slack(vendor).send_message(replace(COMMAND, text="&" * 9_000))
    assert vendor.sent.json["text"] == "&amp;" * 3_499 + "…"


def error(code: str) -> Response:
    return answer(200, {"ok": False, "error": code})


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("no such channel", error("channel_not_found"),
         Permanent("channel_not_found", "there is no such channel, or the app may not see it: use the channel's id")),
        ("archived", error("is_archived"), Permanent("is_archived", "the channel is archived")),
        ("a wrong token", error("invalid_auth"),
         Retryable("unauthorised", "Slack refused the bot token: give a valid one, with all scopes")),
        ("a scope is missing", error("missing_scope"),
         Retryable("unauthorised", "the Slack app may not post: give it the scope chat:write and install it again")),
        ("throttled with a 429", answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"}),
         Retryable("throttled", "Slack asks us to slow down", 30.0)),
        ("throttled with a 200", error("rate_limited"), Retryable("throttled", "Slack asks us to slow down")),
        ("cut short on the way in", error("request_timeout"), Retryable("not_sent", "the request reached Slack cut short")),
        ("an error that may come after the act", error("internal_error"), Unknown("Slack answered with the error 'internal_error'")),
        ("a worse one", error("fatal_error"), Unknown("Slack answered with the error 'fatal_error'")),
        ("unavailable", error("service_unavailable"), Unknown("Slack answered with the error 'service_unavailable'")),
        ("an error that we do not know", error("moon_phase"), Unknown("Slack answered with the error 'moon_phase'")),
        ("a known error with a 5xx", answer(503, {"ok": False, "error": "is_archived"}), Unknown("unreadable answer from Slack, status 503")),
        ("a 401 from somebody else", answer(401, "no"),
         Retryable("unauthorised", "Slack refused the bot token: give a valid one, with all scopes")),
        ("ok is a text", answer(200, {"ok": "true", "channel": "C1", "ts": "1.2"}), Unknown("unreadable answer from Slack, status 200")),
        ("ok without a ts", answer(200, {"ok": True, "channel": "C1"}), Unknown("unreadable answer from Slack, status 200")),
        ("ok with an empty ts", answer(200, {"ok": True, "channel": "C1", "ts": ""}), Unknown("unreadable answer from Slack, status 200")),
        ("HTML", answer(200, "<html>"), Unknown("unreadable answer from Slack, status 200")),
        ("empty", answer(200, ""), Unknown("unreadable answer from Slack, status 200")),
        ("a list", answer(200, []), Unknown("unreadable answer from Slack, status 200")),
        ("null", answer(200, b"null"), Unknown("unreadable answer from Slack, status 200")),
    ],
)  # fmt: skip
def test_answers_to_a_post(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(response)
    assert slack(vendor).send_message(COMMAND) == outcome
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_no_code_of_the_table_is_read_as_done(code: str) -> None:
    assert slack(FakeHttp(error(code))).send_message(COMMAND) == ERRORS[code]


def test_a_look_reads_the_channel_from_ten_minutes_before_the_case_was_opened() -> None:
    vendor = FakeHttp(history(message("RF-0.notify.1"), message(STEP)))
    assert slack(vendor).find_send_message(COMMAND) == Done("C0123456789:1795424405.000100")
    assert vendor.calls == ["GET /conversations.history"]
    assert vendor.sent.params == (
        ("channel", "C0123456789"),
        ("oldest", str(int(OPENED.timestamp()) - 600)),
        ("include_all_metadata", "true"),
        ("limit", "200"),
    )


def test_a_look_goes_through_all_pages_before_it_says_not_found() -> None:
    vendor = FakeHttp(
        history(message("x"), cursor="bmV4dA=="), history(message("y"), cursor="bGFzdA=="), history()
    )
    assert slack(vendor).find_send_message(COMMAND) == NOT_THERE
    assert [dict(r.params).get("cursor") for r in vendor.requests] == [None, "bmV4dA==", "bGFzdA=="]


def test_a_channel_that_is_too_busy_to_be_read_proves_nothing() -> None:
    vendor = FakeHttp(always=history(message("x"), cursor="bmV4dA=="))
    assert slack(vendor).find_send_message(COMMAND) == Unknown(
        "more than 5000 messages in the channel since the case was opened, and none is ours"
    )
    assert len(vendor.requests) == 25


NO_HISTORY = (
    "Slack did not let us read the channel's history: {!r} (the app needs channels:history, or groups:history for a "
    "private channel, and must be a member of the channel)"
)


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("nothing", history(), NOT_THERE),
        ("another step of the case", history(message(f"{STEP}1")), NOT_THERE),
        ("messages of other apps", history({"ts": "1.2", "text": "hi"}, {"metadata": []}, 7, None), NOT_THERE),
        ("more, and no cursor", history(has_more=True), Unknown("Slack has more messages and does not say where to read on")),
        ("a scope is missing", error("missing_scope"), Unknown(NO_HISTORY.format("missing_scope"))),
        ("no such channel", error("channel_not_found"), Unknown(NO_HISTORY.format("channel_not_found"))),
        ("throttled", answer(429, "", {"Retry-After": "5"}),
         Unknown("Slack asks us to slow down, so the look for the message has to wait")),
        ("server error", answer(500, ""), Unknown("unreadable answer from Slack, status 500")),
        ("HTML", answer(200, "<html>"), Unknown("unreadable answer from Slack, status 200")),
        ("null messages", answer(200, {"ok": True, "messages": None}), Unknown("unreadable answer from Slack, status 200")),
    ],
)  # fmt: skip
def test_what_a_look_makes_of_answers(_case: str, response: Response, outcome: Outcome) -> None:
    assert slack(FakeHttp(response)).find_send_message(COMMAND) == outcome


@pytest.mark.parametrize(
    ("_case", "response", "health"),
    [
        ("fine", answer(200, {"ok": True, "team": "A Shop", "user": "refundflow"}), Health(True, "Slack workspace A Shop, as refundflow")),
        ("a wrong token", error("invalid_auth"),
         Health(False, "invalid_auth: Slack refused the bot token: give a valid one, with all scopes")),
        ("an error that we do not know", error("moon_phase"), Health(False, "Slack answered with the error 'moon_phase'")),
        ("down", answer(503, ""), Health(False, "Slack answered with status 503")),
        ("HTML", answer(200, "<html>"), Health(False, "Slack answered with status 200")),
    ],
)  # fmt: skip
def test_check(_case: str, response: Response, health: Health) -> None:
    vendor = FakeHttp(response)
    assert slack(vendor).check() == health
    assert vendor.calls == ["GET /auth.test"]


def test_a_webhook_is_posted_to_without_spelling_its_address() -> None:
    vendor = FakeHttp(answer(200, "ok"))
    assert SlackWebhook(vendor).send_message(COMMAND) == Done(
        "", "posted; an incoming webhook tells no message id"
    )
    assert vendor.calls == ["POST "]
    assert vendor.sent.json == CONTENT


def test_a_webhook_cannot_be_looked_at_and_says_so() -> None:
    vendor = FakeHttp()
    assert SlackWebhook(vendor).find_send_message(COMMAND) == NotFound(
        None, "an incoming webhook keeps no list of its messages (case_report)"
    )
    assert vendor.requests == []


def test_a_webhook_cannot_be_checked_without_posting_and_says_so() -> None:
    vendor = FakeHttp()
    assert SlackWebhook(vendor).check() == Health(
        True,
        "set up, not checked: an incoming webhook can only be tried by posting to its channel. A bot token can be "
        "checked, and its messages can be found again.",
    )
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("switched off", answer(404, "no_active_hooks"), Permanent("no_active_hooks", "the webhook is switched off")),
        ("paired with another status", answer(400, "no_active_hooks\n"), Permanent("no_active_hooks", "the webhook is switched off")),
        ("archived", answer(410, "channel_is_archived"), Permanent("channel_is_archived", "the channel is archived")),
        ("a wrong token", answer(403, "invalid_token"),
         Retryable("unauthorised", "the webhook's token is not valid: give a new webhook address")),
        ("forbidden by settings", answer(403, "action_prohibited"),
         Permanent("action_prohibited", "the workspace's settings forbid this post")),
        ("forbidden without a word", answer(403, ""), Retryable("unauthorised", "Slack refused the webhook: give a new webhook address")),
        ("throttled", answer(429, "", {"Retry-After": "2"}), Retryable("throttled", "Slack asks us to slow down", 2.0)),
        ("a 4xx that we do not know", answer(418, "teapot"), Unknown("unreadable answer from Slack, status 418")),
        ("rollup error", answer(500, "rollup_error"), Unknown("unreadable answer from Slack, status 500")),
        ("a known word with a 5xx", answer(503, "no_text"), Unknown("unreadable answer from Slack, status 503")),
        ("200 without ok", answer(200, "<html>ok</html>"), Unknown("unreadable answer from Slack, status 200")),
        ("200 with a refusal", answer(200, "no_text"), Unknown("unreadable answer from Slack, status 200")),
        ("200 empty", answer(200, ""), Unknown("unreadable answer from Slack, status 200")),
        ("bytes that are no text", answer(200, b"\xff\xfe"), Unknown("unreadable answer from Slack, status 200")),
    ],
)  # fmt: skip
def test_answers_of_a_webhook(_case: str, response: Response, outcome: Outcome) -> None:
    assert SlackWebhook(FakeHttp(response)).send_message(COMMAND) == outcome


@pytest.mark.parametrize("code", sorted(WEBHOOK_ERRORS))
def test_every_word_of_the_webhook_table_is_a_refusal(code: str) -> None:
    assert SlackWebhook(FakeHttp(answer(400, code))).send_message(COMMAND) == WEBHOOK_ERRORS[code]


def test_a_bot_token_is_preferred_to_a_webhook() -> None:
    wire = FakeWire()
    built = build(Credentials(Secret("xoxb-1"), "C1", Secret("https://hooks.slack.com/services/T/B/X")), wire)
    assert isinstance(built, Slack)
    (made,) = wire.made
    assert (made["base_url"], made["headers"], built.channel) == (
        "https://slack.com/api",
        {"Authorization": "Bearer xoxb-1"},
        "C1",
    )
    assert {"text", "blocks"} <= made["redact"]


def test_a_webhook_alone_is_a_way_in() -> None:
    wire = FakeWire()
    built = build(Credentials(webhook_url=Secret("https://hooks.slack.com/services/T/B/X")), wire)
    assert isinstance(built, SlackWebhook)
    (made,) = wire.made
    assert made["base_url"] == "https://hooks.slack.com/services/T/B/X"


def test_what_the_audit_keeps_of_a_webhook_call_does_not_spell_its_address() -> None:
    wire = FakeWire()
    build(Credentials(webhook_url=Secret("https://hooks.slack.com/services/T000/B000/XXXXXXXX")), wire)
    (made,) = wire.made
    ((name, value),) = made["headers"].items()
    redaction = Redaction(made["redact"])
    assert redaction.hides(name)
    assert redaction.headers(made["headers"]) == {name: "***"}
    assert redaction.knowing([value]).url(made["base_url"]) == "https://hooks.slack.com/***"


def test_without_token_and_webhook_there_is_nothing_to_build() -> None:
    with pytest.raises(ValueError, match="a bot token or an incoming webhook"):
        build(Credentials(), FakeWire())


def test_secrets_do_not_show() -> None:
    shown = repr(Credentials(Secret("xoxb-1"), "C1", Secret("https://hooks.slack.com/services/T/B/X")))
    assert "xoxb" not in shown
    assert "hooks" not in shown


def test_both_ways_in_are_one_platform_and_say_how_a_repeat_is_kept_away() -> None:
    both = [
        (spec.platform, spec.operations[Capability.SEND_MESSAGE].idempotency) for spec in (SPEC, WEBHOOK_SPEC)
    ]
    assert both == [("slack", Idempotency.LOOKUP), ("slack", Idempotency.NONE)]


@pytest.mark.parametrize(
    ("step_key", "seconds"),
    [(STEP, int(OPENED.timestamp())), ("RF-1.notify.1", 0), ("RF-ZZZZZZZZZ000000.notify.1", 0)],
)
def test_a_case_id_tells_when_its_case_was_opened(step_key: str, seconds: int) -> None:
    assert opened_at(StepKey(step_key)) == seconds
