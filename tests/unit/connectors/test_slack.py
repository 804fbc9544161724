"""Slack: what a message is posted as, how it is changed and found again, what a webhook cannot tell, and what a click says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.slack import (
    APPROVE,
    DECLINE,
    ERRORS,
    SPEC,
    UNCHANGEABLE,
    WEBHOOK_ERRORS,
    WEBHOOK_SPEC,
    Credentials,
    Slack,
    SlackInbound,
    SlackWebhook,
    build,
)
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, case_of, mint_case_id, mint_step_key, opened_at, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    Irrelevant,
    MalformedError,
    OperatorWord,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Response
from refundflow.transport.redact import Redaction
from refundflow.transport.signatures import sign_hex
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


REPLACED = AlreadyDone("C0123456789:1795424405.000100", "a later report of the case took its place")


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
        ("another kind of step of the case", history(message(STEP.replace("notify", "refund") + "1")), NOT_THERE),
        ("an earlier report of the case", history(message(STEP.removesuffix("1") + "0")), NOT_THERE),
        ("a later report of the case", history(message(f"{STEP}1")), REPLACED),
        ("a later report of another case", history(message("RF-00K3ZQ4M7ABCDEF.notify.2")), NOT_THERE),
        ("both", history(message(f"{STEP}1", "1795424406.000100"), message(STEP)), Done("C0123456789:1795424405.000100")),
        ("a reference that is no step", history(message("RF-0.notify.x"), message("7")), NOT_THERE),
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


# ------------------------------------------------------------------------------------------------ the message that is replaced

UPDATES = "C0123456789:1795424405.000100"
UPDATED = answer(
    200, {"ok": True, "channel": "C0123456789", "ts": "1795424405.000100", "text": "", "message": {}}
)
POSTED = answer(200, {"ok": True, "channel": "C0123456789", "ts": "1795424999.000200", "message": {}})
FRESH = Done("C0123456789:1795424999.000200")


def test_a_report_takes_the_place_of_the_earlier_one_with_its_own_reference() -> None:
    vendor = FakeHttp(UPDATED)
    assert slack(vendor).send_message(replace(COMMAND, updates=UPDATES)) == Done(UPDATES)
    assert vendor.calls == ["POST /chat.update"]
    assert vendor.sent.headers == {"Content-Type": "application/json; charset=utf-8"}
    assert vendor.sent.json == {
        "channel": "C0123456789",
        "ts": "1795424405.000100",
        "text": CONTENT["text"],
        "blocks": BLOCKS,
        "metadata": {"event_type": "refundflow_case", "event_payload": {"case": case_of(STEP), "op": STEP}},
    }


def test_an_update_without_blocks_takes_the_old_ones_and_their_buttons_away() -> None:
    vendor = FakeHttp(UPDATED)
    slack(vendor).send_message(replace(COMMAND, updates=UPDATES, blocks=""))
    assert vendor.sent.json["blocks"] == []


@pytest.mark.parametrize(
    "updates", ["", "told her by telephone", "C0123456789", "C1:", ":1795424405.000100", "C1:12", "c1:1.2\n", "C1:1.2 x"]
)  # fmt: skip
def test_what_is_no_reference_of_ours_is_not_updated(updates: str) -> None:
    vendor = FakeHttp(POSTED)
    assert slack(vendor).send_message(replace(COMMAND, updates=updates)) == FRESH
    assert vendor.calls == ["POST /chat.postMessage"]


@pytest.mark.parametrize("code", sorted(UNCHANGEABLE))
def test_a_message_that_cannot_be_changed_any_more_is_followed_by_a_new_one_in_todays_channel(
    code: str,
) -> None:
    vendor = FakeHttp(error(code), POSTED)
    assert slack(vendor).send_message(replace(COMMAND, to="C9", updates=UPDATES)) == FRESH
    assert vendor.calls == ["POST /chat.update", "POST /chat.postMessage"]
    assert [request.json["channel"] for request in vendor.requests] == ["C0123456789", "C9"]
    assert {request.json["metadata"]["event_payload"]["op"] for request in vendor.requests} == {STEP}


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("an error that may come after the act", error("internal_error"), Unknown("Slack answered with the error 'internal_error'")),
        ("an update that failed inside", error("update_failed"), Unknown("Slack answered with the error 'update_failed'")),
        ("a refusal that is no proof: not by Slack's own status", answer(404, {"ok": False, "error": "message_not_found"}),
         Unknown("Slack answered with the error 'message_not_found'")),
        ("throttled", answer(429, "", {"Retry-After": "3"}), Retryable("throttled", "Slack asks us to slow down", 3.0)),
        ("a wrong token", error("token_revoked"),
         Retryable("unauthorised", "Slack refused the bot token: give a valid one, with all scopes")),
        ("too long", error("msg_too_long"), Permanent("msg_too_long", "the message is too long")),
        ("down", answer(503, ""), Unknown("unreadable answer from Slack, status 503")),
        ("HTML", answer(200, "<html>message_not_found</html>"), Unknown("unreadable answer from Slack, status 200")),
        ("ok without a ts", answer(200, {"ok": True, "channel": "C1"}), Unknown("unreadable answer from Slack, status 200")),
    ],
)  # fmt: skip
def test_nothing_is_posted_anew_unless_slack_says_that_the_message_cannot_be_changed(
    _case: str, response: Response, outcome: Outcome
) -> None:
    vendor = FakeHttp(response)
    assert slack(vendor).send_message(replace(COMMAND, updates=UPDATES)) == outcome
    assert vendor.calls == ["POST /chat.update"]


@pytest.mark.parametrize(
    ("_case", "there", "here", "found"),
    [
        ("in the old message", history(message(STEP)), history(), Done("COLD:1795424405.000100")),
        ("in a new one", history(), history(message(STEP)), Done("C0123456789:1795424405.000100")),
        ("in a new one, and the old channel is gone", error("channel_not_found"), history(message(STEP)),
         Done("C0123456789:1795424405.000100")),
        ("in neither", history(), history(), NOT_THERE),
        ("in neither that can be read", history(), error("missing_scope"), Unknown(NO_HISTORY.format("missing_scope"))),
        ("nor in the other", error("channel_not_found"), history(), Unknown(NO_HISTORY.format("channel_not_found"))),
    ],
)  # fmt: skip
def test_a_look_for_an_update_reads_both_channels_that_it_can_be_in(
    _case: str, there: Response, here: Response, found: Found
) -> None:
    vendor = FakeHttp(there, here)
    assert slack(vendor).find_send_message(replace(COMMAND, updates="COLD:1.2")) == found
    assert [dict(request.params)["channel"] for request in vendor.requests] == ["COLD", "C0123456789"]


def test_a_look_for_an_update_in_the_same_channel_reads_it_once() -> None:
    vendor = FakeHttp(history(message(STEP)))
    assert slack(vendor).find_send_message(replace(COMMAND, updates=UPDATES)) == Done(UPDATES)


def test_only_reports_are_replaced_by_later_ones() -> None:
    vendor = FakeHttp(history(message(f"{STEP}1")))
    assert slack(vendor).find_send_message(replace(COMMAND, template="something_else")) == NOT_THERE


def test_buttons_are_shown_only_where_somebody_hears_them() -> None:
    buttons = {"type": "actions", "elements": [{"type": "button", "action_id": APPROVE}]}
    command = replace(COMMAND, blocks=json.dumps([*BLOCKS, buttons]))
    secret = Secret("8f742231b10e8888abcd99yyyzzz85a5")
    webhook = Secret("https://hooks.slack.com/services/T/B/X")
    for credentials, shown in (
        (Credentials(Secret("xoxb-1"), "C1"), BLOCKS),
        (Credentials(Secret("xoxb-1"), "C1", signing_secret=secret), [*BLOCKS, buttons]),
        (Credentials(webhook_url=webhook), BLOCKS),
        (Credentials(webhook_url=webhook, signing_secret=secret), [*BLOCKS, buttons]),
    ):
        vendor = FakeHttp(always=answer(503))
        connector = build(credentials, FakeWire(vendor))
        connector.send_message(command)
        connector.send_message(replace(command, updates=UPDATES))
        assert [request.json["blocks"] for request in vendor.requests] == [shown, shown]


def test_a_webhook_posts_anew_what_a_bot_would_update() -> None:
    vendor = FakeHttp(answer(200, "ok"))
    SlackWebhook(vendor).send_message(replace(COMMAND, updates=UPDATES))
    assert vendor.calls == ["POST "]
    assert vendor.sent.json == CONTENT


# ------------------------------------------------------------------------------------------------ health and webhooks


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


# ------------------------------------------------------------------------------------------------ clicks

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
#: The vendor's own example.
VECTOR_TIME = "1531420618"
VECTOR_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    b"803a0bc887a14d10d2c447fce8b6703c"
)
VECTOR_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
INBOUND = SlackInbound(Secret(SECRET))
CASE = case_of(STEP)


def click(action_id: str = APPROVE, **changes: Any) -> dict[str, Any]:
    action = {
        "type": "button",
        "action_id": action_id,
        "block_id": "b",
        "value": CASE,
        "action_ts": "1795600000.000001",
    }
    return {
        "type": "block_actions",
        "user": {"id": "U024BE7LH", "username": "grace", "team_id": "T1"},
        "api_app_id": "A1",
        "trigger_id": "1795600000.99.abc",
        "actions": [action],
        **changes,
    }  # fmt: skip


def form(payload: Any) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(
    body: bytes, headers: dict[str, str] | None = None, *, at: datetime = NOW, secret: str = SECRET
) -> Delivery:
    timestamp = str(int(at.timestamp()))
    mac = sign_hex(secret, b"v0:" + timestamp.encode() + b":" + body)
    return Delivery(
        {"x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={mac}", **(headers or {})}, body
    )


def read(payload: Any) -> Any:
    return INBOUND.read_event("block_actions", form(payload))


def test_the_published_vector_holds_and_its_body_is_no_interaction() -> None:
    headers = {"x-slack-request-timestamp": VECTOR_TIME, "x-slack-signature": VECTOR_SIGNATURE}
    now = datetime.fromtimestamp(int(VECTOR_TIME), UTC)
    # A slash command, which this app has not: refused only after the signature was found good.
    assert INBOUND.verify(Delivery(headers, VECTOR_BODY), now) == Refused("the body is no interaction")
    later = now + timedelta(seconds=301)
    assert INBOUND.verify(Delivery(headers, VECTOR_BODY), later) == Refused(
        "the signature is not from the last 300 seconds"
    )
    assert INBOUND.verify(Delivery(headers, VECTOR_BODY + b"&"), now) == Refused(
        "the signature does not match"
    )


def test_a_click_is_verified_and_its_id_is_who_and_when() -> None:
    assert INBOUND.verify(signed(form(click())), NOW) == Verified(
        "U024BE7LH:1795600000.000001", "block_actions"
    )


def test_one_click_that_comes_again_has_the_same_id_and_another_click_another_one() -> None:
    ids = []
    again = click(trigger_id="1795600000.99.def")
    other = click()
    other["actions"][0]["action_ts"] = "1795600009.000001"
    for at, payload in ((NOW, click()), (NOW + timedelta(seconds=9), again), (NOW, other)):
        verified = INBOUND.verify(signed(form(payload), at=at), at)
        assert isinstance(verified, Verified)
        ids.append(verified.source_event_id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("_case", "delivery", "why"),
    [
        ("another secret", signed(form(click()), secret="other"), "the signature does not match"),
        ("a changed body", replace(signed(form(click())), body=form(click(DECLINE))), "the signature does not match"),
        ("the parts in another order", Delivery({
            "x-slack-request-timestamp": str(int(NOW.timestamp())),
            "x-slack-signature": "v0=" + sign_hex(SECRET, form(click()) + b":" + str(int(NOW.timestamp())).encode() + b":v0"),
         }, form(click())), "the signature does not match"),
        ("without the version", signed(form(click()), {"x-slack-signature": signed(form(click())).headers["x-slack-signature"][3:]}),
         "the signature does not match"),
        ("no signature", signed(form(click()), {"x-slack-signature": ""}), "the signature or its time is missing or cannot be read"),
        ("no time", signed(form(click()), {"x-slack-request-timestamp": ""}), "the signature or its time is missing or cannot be read"),
        ("a time of words", signed(form(click()), {"x-slack-request-timestamp": "now"}),
         "the signature or its time is missing or cannot be read"),
        ("another time", signed(form(click()), {"x-slack-request-timestamp": str(int(NOW.timestamp()) + 1)}),
         "the signature does not match"),
        ("too old", signed(form(click()), at=NOW - timedelta(seconds=301)), "the signature is not from the last 300 seconds"),
        ("too young", signed(form(click()), at=NOW + timedelta(seconds=301)), "the signature is not from the last 300 seconds"),
        ("a form without payload", signed(b"a=b"), "the body is no interaction"),
        ("a payload that is no JSON", signed(b"payload=%7B"), "the body is no interaction"),
        ("a payload without a type", signed(form({"user": {}})), "the body is no interaction"),
        ("a type that is no name", signed(form(click(type="x" * 90))), "the body is no interaction"),
        ("a list", signed(b"[]"), "the body is no interaction"),
        ("nothing", signed(b""), "the body is no interaction"),
        ("bytes that are no text", signed(b"\xff\xfe"), "the body is no interaction"),
    ],
)  # fmt: skip
def test_deliveries_that_are_refused(_case: str, delivery: Delivery, why: str) -> None:
    assert INBOUND.verify(delivery, NOW) == Refused(why)


def test_without_a_secret_everything_is_refused() -> None:
    for secret in ("", " , "):
        refused = SlackInbound(Secret(secret)).verify(signed(form(click())), NOW)
        assert refused == Refused("no signing secret is set")


def test_two_secrets_hold_while_one_is_replaced() -> None:
    inbound = SlackInbound(Secret(f"fresh, {SECRET}"))
    for secret in (SECRET, "fresh"):
        assert isinstance(inbound.verify(signed(form(click()), secret=secret), NOW), Verified)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_five_minutes_are_tolerated_on_either_side(seconds: int) -> None:
    at = NOW + timedelta(seconds=seconds)
    assert isinstance(INBOUND.verify(signed(form(click()), at=at), NOW), Verified)


@pytest.mark.parametrize(
    "body", [b'{"type": "url_verification", "challenge": "x", "token": "y"}', b"ssl_check=1&token=y"]
)
def test_slack_that_tries_the_address_is_greeted_and_nothing_is_stored(body: bytes) -> None:
    assert isinstance(INBOUND.verify(signed(body), NOW), Greeting)
    assert isinstance(INBOUND.verify(signed(body, secret="other"), NOW), Refused)


def test_an_interaction_that_tells_no_click_is_known_by_its_trigger_or_its_body() -> None:
    shortcut = {"type": "shortcut", "trigger_id": "1.2.abc", "user": {"id": "U1"}}
    assert INBOUND.verify(signed(form(shortcut)), NOW) == Verified("1.2.abc", "shortcut")
    closed = INBOUND.verify(signed(form({"type": "view_closed", "view": {}})), NOW)
    assert isinstance(closed, Verified)
    assert (closed.source_event_id[:7], len(closed.source_event_id)) == ("sha256:", 71)
    assert INBOUND.read_event("shortcut", form(shortcut)) == Irrelevant("shortcut asks nothing of us")


@pytest.mark.parametrize(("action_id", "is_approved"), [(APPROVE, True), (DECLINE, False)])
def test_a_press_of_our_button_is_an_operators_word(action_id: str, is_approved: bool) -> None:
    assert read(click(action_id)) == OperatorWord(
        "slack", case_id=CASE, is_approved=is_approved, member="U024BE7LH", reason=""
    )


def test_nothing_but_button_case_and_person_is_believed() -> None:
    forged = click(message={"metadata": {"event_payload": {"case": "RF-000000000000000"}}}, team={"id": "T9"})
    assert read(forged) == read(click())


@pytest.mark.parametrize("actions", [[], [{"action_id": "refund_approve"}], [7, None, {"action_id": []}]])
def test_other_buttons_are_none_of_our_business(actions: list[Any]) -> None:
    assert read(click(actions=actions)) == Irrelevant("no button of ours")


def pressed(**changes: Any) -> dict[str, Any]:
    (action,) = click()["actions"]
    return click(actions=[{"action_id": "menu"}, {**action, **changes}])


@pytest.mark.parametrize(
    ("_case", "payload", "told"),
    [
        ("no value", pressed(value=None), "actions[1].value: is no case's id"),
        ("an order's number", pressed(value="#1001"), "actions[1].value: is no case's id"),
        ("a letter that ids do not have", pressed(value=f"{CASE[:-1]}I"), "actions[1].value: is no case's id"),
        ("too long", pressed(value=f"{CASE}0"), "actions[1].value: is no case's id"),
        ("a line more", pressed(value=f"{CASE}\n"), "actions[1].value: is no case's id"),
        ("nobody", click(user=None), "user.id: is no member's id"),
        ("a name", click(user={"id": "grace; drop"}), "user.id: is no member's id"),
        ("no actions", click(actions=None), "actions: is missing"),
        ("two words at once", click(actions=click()["actions"] + click(DECLINE)["actions"]), "actions: says two things at once"),
        ("a list", [], "actions: is missing"),
    ],
)  # fmt: skip
def test_a_click_that_cannot_be_read_says_where(_case: str, payload: Any, told: str) -> None:
    with pytest.raises(MalformedError) as wrong:
        read(payload)
    assert str(wrong.value) == told


def test_the_credentials_make_the_reader() -> None:
    assert Credentials(signing_secret=Secret(SECRET)).inbound == INBOUND


def test_both_ways_in_take_clicks() -> None:
    assert all(Capability.INBOUND in spec.operations for spec in (SPEC, WEBHOOK_SPEC))
