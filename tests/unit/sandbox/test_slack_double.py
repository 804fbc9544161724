"""The practice Slack: what it posts, what it refuses, what can be read back, and what it notes in its book."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.slack import BOT_USER, CHANNEL, PERSON, TOKEN, WEBHOOK_PATH, Slack
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
AUTH = {"Authorization": f"Bearer {TOKEN}"}
JSON = {**AUTH, "Content-Type": "application/json; charset=utf-8"}
SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "*RF-77* order 1001"}}
BUTTON: Record = {
    "type": "button",
    "action_id": "refund_approve",
    "style": "primary",
    "text": {"type": "plain_text", "text": "Approve"},
    "value": "9f0c",
}
BUTTONS = {"type": "actions", "block_id": "rf:RF-77", "elements": [BUTTON]}
METADATA = {"event_type": "refundflow_case", "event_payload": {"case": "RF-77", "op": "9f0c"}}


class Bench:
    """A practice Slack behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Slack], clock=lambda: self.now, send=self._send)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("slack")
        assert isinstance(vendor, Slack)
        self.slack = vendor

    def _send(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def call(self, method: str, body: Any = None, headers: dict[str, str] = JSON) -> Record:
        result = self.client.simulate_post(f"/slack/api/{method}", body=json.dumps(body), headers=headers)
        assert result.status_code == 200
        answer: Record = result.json
        return answer

    def read(self, method: str, **params: str) -> Record:
        answer: Record = self.client.simulate_get(f"/slack/api/{method}", params=params, headers=AUTH).json
        return answer

    def post(self, text: str = "RF-77 needs approval", **more: Any) -> Record:
        return self.call("chat.postMessage", {"channel": CHANNEL, "text": text, **more})

    def hook(self, body: Any, path: str = WEBHOOK_PATH) -> Result:
        return self.client.simulate_post(
            f"/slack{path}", body=json.dumps(body), headers={"Content-Type": "application/json"}
        )

    def book(self, effect: str | None = None) -> list[Record]:
        return self.slack.book.lines(effect)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_post_is_answered_with_channel_and_ts_and_noted_once(bench: Bench) -> None:
    answer = bench.post(blocks=[SECTION], metadata=METADATA)

    assert answer["ok"] is True
    assert (answer["channel"], answer["ts"]) == (CHANNEL, "1795435200.000000")
    assert answer["message"]["user"] == BOT_USER
    assert bench.book() == [
        {
            "at": START.isoformat(),
            "vendor": "slack",
            "effect": "post_message",
            "id": "1795435200.000000",
            "amount_minor": None,
            "currency": None,
            "target": {"channel": CHANNEL, "thread_ts": None},
            "reference": {"case": "RF-77", "op": "9f0c"},
            "idempotency_key": None,
            "text": "RF-77 needs approval",
            "blocks": 1,
            "via": "api",
        }
    ]


def test_the_same_post_twice_is_two_messages(bench: Bench) -> None:
    first, second = bench.post(metadata=METADATA), bench.post(metadata=METADATA)

    assert (first["ts"], second["ts"]) == ("1795435200.000000", "1795435200.000001")
    assert len(bench.book("post_message")) == 2


@pytest.mark.parametrize(
    ("_case", "header", "error"),
    [
        ("no header", {}, "not_authed"),
        ("another scheme", {"Authorization": f"Basic {TOKEN}"}, "not_authed"),
        ("another token", {"Authorization": "Bearer xoxb-other"}, "invalid_auth"),
        ("the old token header", {"token": TOKEN}, "not_authed"),
    ],
)
def test_bad_credentials_are_an_ok_false_with_status_200(
    bench: Bench, _case: str, header: dict[str, str], error: str
) -> None:
    answer = bench.call(
        "chat.postMessage",
        {"channel": CHANNEL, "text": "x"},
        {**header, "Content-Type": "application/json; charset=utf-8"},
    )

    assert answer == {"ok": False, "error": error}
    assert bench.book() == []


@pytest.mark.parametrize(
    ("_case", "body", "error"),
    [
        ("no channel", {"text": "x"}, "channel_not_found"),
        ("unknown channel", {"channel": "C0NOWHERE1", "text": "x"}, "channel_not_found"),
        ("no text", {"channel": CHANNEL}, "no_text"),
        ("blank text", {"channel": CHANNEL, "text": " "}, "no_text"),
        ("blocks without text", {"channel": CHANNEL, "blocks": [SECTION]}, "no_text"),
        ("text that is none", {"channel": CHANNEL, "text": 7}, "invalid_arguments"),
        ("blocks that are no list", {"channel": CHANNEL, "text": "x", "blocks": SECTION}, "invalid_blocks"),
        (
            "51 blocks",
            {"channel": CHANNEL, "text": "x", "blocks": [{"type": "divider"}] * 51},
            "invalid_blocks",
        ),
        ("unknown thread", {"channel": CHANNEL, "text": "x", "thread_ts": "1.2"}, "thread_not_found"),
        (
            "metadata without payload",
            {"channel": CHANNEL, "text": "x", "metadata": {"event_type": "t"}},
            "invalid_metadata_format",
        ),
        ("no object", ["x"], "json_not_object"),
    ],
)
def test_a_wrong_post_is_refused_and_posts_nothing(bench: Bench, _case: str, body: Any, error: str) -> None:
    answer = bench.call("chat.postMessage", body)

    assert (answer["ok"], answer["error"]) == (False, error)
    assert bench.book() == []


def _section(length: int) -> Record:
    return {"type": "section", "text": {"type": "mrkdwn", "text": "x" * length}}


CONFIRM = {name: {"type": "plain_text", "text": "Sure?"} for name in ("title", "text", "confirm", "deny")}


def _button(**parts: Any) -> Record:
    return {"type": "actions", "elements": [{**BUTTON, **parts}]}


@pytest.mark.parametrize(
    ("_case", "block", "message"),
    [
        ("section too long", _section(3001), "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"),
        ("section empty", _section(0), "must be more than 0 characters [json-pointer:/blocks/0/text/text]"),
        ("section of nothing", {"type": "section"}, "must have text or 1 to 10 fields [json-pointer:/blocks/0]"),
        ("unknown type", {"type": "table_of_gold"}, "unsupported type: table_of_gold [json-pointer:/blocks/0/type]"),
        ("no object", "hello", "must be an object [json-pointer:/blocks/0]"),
        ("value too long", _button(value="x" * 2001), "must be less than 2001 characters [json-pointer:/blocks/0/elements/0/value]"),
        ("action_id too long", _button(action_id="x" * 256), "must be a string of at most 255 characters [json-pointer:/blocks/0/elements/0/action_id]"),
        ("unknown style", _button(style="gold"), "must be primary or danger [json-pointer:/blocks/0/elements/0/style]"),
        ("a question without an answer", _button(confirm={**CONFIRM, "deny": None}),
         "must be a text object of type plain_text [json-pointer:/blocks/0/elements/0/confirm/deny]"),
        ("a question too long", _button(confirm={**CONFIRM, "text": {"type": "mrkdwn", "text": "x" * 301}}),
         "must be less than 301 characters [json-pointer:/blocks/0/elements/0/confirm/text/text]"),
        ("a question that is a text", _button(confirm="sure?"), "must be an object [json-pointer:/blocks/0/elements/0/confirm]"),
        ("header in mrkdwn", {"type": "header", "text": {"type": "mrkdwn", "text": "x"}}, "must be a text object of type plain_text [json-pointer:/blocks/0/text]"),
    ],
)  # fmt: skip
def test_blocks_are_checked_and_the_answer_points_at_the_fault(
    bench: Bench, _case: str, block: Any, message: str
) -> None:
    answer = bench.post(blocks=[block])

    assert answer["error"] == "invalid_blocks"
    assert answer["response_metadata"]["messages"] == [f"[ERROR] {message}"]
    assert bench.book() == []


def test_a_section_of_3000_characters_and_50_blocks_are_taken(bench: Bench) -> None:
    assert bench.post(blocks=[_section(3000)] * 50)["ok"] is True


def test_text_is_cut_at_40000_characters(bench: Bench) -> None:
    answer = bench.post("x" * 40_001)

    assert len(answer["message"]["text"]) == 40_000
    assert answer["warning"] == "message_truncated"


def test_json_without_a_charset_is_taken_with_a_warning(bench: Bench) -> None:
    body = {"channel": CHANNEL, "text": "x"}
    answer = bench.call("chat.postMessage", body, {**AUTH, "Content-Type": "application/json"})

    assert (answer["ok"], answer["warning"]) == (True, "missing_charset")


def test_a_form_carries_blocks_as_json_text(bench: Bench) -> None:
    form = urlencode({"channel": CHANNEL, "text": "x", "blocks": json.dumps([SECTION])})
    headers = {**AUTH, "Content-Type": "application/x-www-form-urlencoded"}
    answer = bench.client.simulate_post("/slack/api/chat.postMessage", body=form, headers=headers).json

    assert answer["message"]["blocks"][0]["text"] == SECTION["text"]


def test_a_body_of_another_type_is_refused(bench: Bench) -> None:
    assert (
        bench.call("chat.postMessage", {}, {**AUTH, "Content-Type": "text/plain"})["error"]
        == "invalid_post_type"
    )


@pytest.mark.parametrize(
    ("_case", "settled", "error"),
    [
        ("archived", {"is_archived": True}, "is_archived"),
        ("not a member", {"is_member": False}, "not_in_channel"),
        ("private and not a member", {"is_member": False, "is_private": True}, "channel_not_found"),
    ],
)
def test_a_channel_that_is_closed_to_the_bot_takes_no_message(
    bench: Bench, _case: str, settled: Record, error: str
) -> None:
    bench.world.seed({"slack": {"scopes": ["chat:write"]}})
    bench.world.settle("slack", {"channel": CHANNEL, **settled})

    assert bench.post()["error"] == error
    assert bench.book() == []


def test_a_missing_scope_is_named(bench: Bench) -> None:
    bench.world.seed({"slack": {"scopes": ["channels:history"]}})

    assert bench.post() == {
        "ok": False,
        "error": "missing_scope",
        "needed": "chat:write",
        "provided": "channels:history",
    }
    assert bench.book() == []


def test_metadata_is_read_back_only_when_asked_for(bench: Bench) -> None:
    bench.post(metadata=METADATA)

    [plain] = bench.read("conversations.history", channel=CHANNEL)["messages"]
    [whole] = bench.read("conversations.history", channel=CHANNEL, include_all_metadata="true")["messages"]
    assert "metadata" not in plain
    assert whole["metadata"] == METADATA


def test_history_pages_newest_first_and_leaves_replies_out(bench: Bench) -> None:
    first, second, third = (bench.post(f"message {i}")["ts"] for i in range(3))
    reply = bench.post("a reply", thread_ts=first)["ts"]

    page = bench.read("conversations.history", channel=CHANNEL, limit="2")
    assert [each["ts"] for each in page["messages"]] == [third, second]
    assert page["has_more"] is True
    cursor = page["response_metadata"]["next_cursor"]
    last = bench.read("conversations.history", channel=CHANNEL, limit="2", cursor=cursor)
    assert [each["ts"] for each in last["messages"]] == [first]
    assert last["has_more"] is False
    assert last["messages"][0]["latest_reply"] == reply


def test_bounds_are_exclusive_unless_inclusive(bench: Bench) -> None:
    first, second, third = (bench.post(f"message {i}")["ts"] for i in range(3))

    def seen(**params: str) -> list[str]:
        page = bench.read("conversations.history", channel=CHANNEL, **params)
        return [each["ts"] for each in page["messages"]]

    assert seen(oldest=first) == [third, second]
    assert seen(oldest=first, latest=third) == [second]
    assert seen(oldest=first, latest=third, inclusive="true") == [third, second, first]
    assert seen(oldest="0") == [third, second, first]


def test_replies_begin_with_the_parent_and_run_oldest_first(bench: Bench) -> None:
    parent = bench.post("case opened")["ts"]
    replies = [bench.post(f"step {i}", thread_ts=parent)["ts"] for i in range(2)]

    page = bench.read("conversations.replies", channel=CHANNEL, ts=parent)
    assert [each["ts"] for each in page["messages"]] == [parent, *replies]
    assert page["messages"][0]["reply_count"] == 2
    assert page["messages"][1]["parent_user_id"] == BOT_USER
    assert bench.read("conversations.replies", channel=CHANNEL, ts="1.1")["error"] == "thread_not_found"


def test_a_reply_to_a_reply_joins_the_same_thread(bench: Bench) -> None:
    parent = bench.post("case opened")["ts"]
    reply = bench.post("step", thread_ts=parent)["ts"]

    assert bench.post("step", thread_ts=reply)["message"]["thread_ts"] == parent


@pytest.mark.parametrize(
    ("_case", "params", "error"),
    [
        ("no channel", {}, "channel_not_found"),
        ("no number", {"channel": CHANNEL, "oldest": "yesterday"}, "invalid_ts_oldest"),
        ("limit of nothing", {"channel": CHANNEL, "limit": "0"}, "invalid_limit"),
        ("strange cursor", {"channel": CHANNEL, "cursor": "bmV4dF90czox"}, "invalid_cursor"),
    ],
)
def test_a_wrong_reading_is_refused(bench: Bench, _case: str, params: dict[str, str], error: str) -> None:
    assert bench.read("conversations.history", **params) == {"ok": False, "error": error}


def test_an_update_replaces_what_is_sent_and_keeps_the_rest(bench: Bench) -> None:
    ts = bench.post(blocks=[SECTION, BUTTONS], metadata=METADATA)["ts"]

    kept = bench.call("chat.update", {"channel": CHANNEL, "ts": ts, "text": "approved"})
    assert (kept["ok"], kept["ts"], kept["text"]) == (True, ts, "approved")
    assert len(kept["message"]["blocks"]) == 2
    assert kept["message"]["metadata"] == METADATA
    emptied = bench.call("chat.update", {"channel": CHANNEL, "ts": ts, "text": "done", "blocks": []})
    assert emptied["message"]["blocks"] == []
    assert len(bench.book("post_message")) == 1
    assert [(line["text"], line["blocks"]) for line in bench.book("update_message")] == [
        ("approved", 2),
        ("done", 0),
    ]


def test_only_the_bots_own_messages_can_be_edited_and_only_in_time(bench: Bench) -> None:
    bench.world.seed({"slack": {"habits": {"edit_window_s": 60}}})
    ts = bench.post()["ts"]
    bench.hook({"text": "from a webhook"})
    hooked = bench.book("post_message")[1]["id"]

    def edit(which: str) -> str:
        return str(bench.call("chat.update", {"channel": CHANNEL, "ts": which, "text": "x"})["error"])

    assert edit("1795435200.999999") == "message_not_found"
    assert edit(hooked) == "cant_update_message"
    bench.now += timedelta(seconds=61)
    assert edit(ts) == "edit_window_closed"
    assert bench.book("update_message") == []


def test_a_permalink_leads_to_the_message(bench: Bench) -> None:
    ts = bench.post()["ts"]

    answer = bench.read("chat.getPermalink", channel=CHANNEL, message_ts=ts)
    assert answer["permalink"] == f"https://practice-shop.slack.com/archives/{CHANNEL}/p1795435200000000"
    assert bench.read("chat.getPermalink", channel=CHANNEL, message_ts="1.1")["error"] == "message_not_found"


def test_a_webhook_answers_the_text_ok_and_no_ts(bench: Bench) -> None:
    result = bench.hook({"text": "Case RF-77: 42.50 EUR refunded", "blocks": [SECTION]})

    assert (result.status_code, result.text) == (200, "ok")
    [line] = bench.book()
    assert (line["effect"], line["via"], line["text"]) == (
        "post_message",
        "webhook",
        "Case RF-77: 42.50 EUR refunded",
    )


@pytest.mark.parametrize(
    ("_case", "path", "body", "status", "text"),
    [
        ("unknown", "/services/T1/B1/x", {"text": "x"}, 404, "no_service"),
        ("wrong secret", WEBHOOK_PATH + "x", {"text": "x"}, 403, "invalid_token"),
        ("no object", WEBHOOK_PATH, ["x"], 400, "invalid_payload"),
        ("no text", WEBHOOK_PATH, {}, 400, "no_text"),
        ("bad blocks", WEBHOOK_PATH, {"text": "x", "blocks": {}}, 400, "invalid_payload"),
    ],
)
def test_a_webhook_refuses_in_plain_text(
    bench: Bench, _case: str, path: str, body: Any, status: int, text: str
) -> None:
    result = bench.hook(body, path)

    assert (result.status_code, result.text) == (status, text)
    assert bench.book() == []


def test_a_webhook_that_was_removed_or_whose_channel_is_archived_posts_nothing(bench: Bench) -> None:
    bench.world.settle("slack", {"webhook": WEBHOOK_PATH, "is_active": False})
    assert bench.hook({"text": "x"}).text == "no_active_hooks"
    bench.world.settle("slack", {"webhook": WEBHOOK_PATH, "is_active": True})
    bench.world.settle("slack", {"channel": CHANNEL, "is_archived": True})
    gone = bench.hook({"text": "x"})

    assert (gone.status_code, gone.text) == (410, "channel_is_archived")
    assert bench.book() == []


def test_a_429_says_how_long_to_wait_and_posts_nothing(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "slack", "post_message", status=429))

    result = bench.client.simulate_post(
        "/slack/api/chat.postMessage", body=json.dumps({"channel": CHANNEL, "text": "x"}), headers=JSON
    )
    assert (result.status_code, result.headers["retry-after"]) == (429, "30")
    assert result.json == {"ok": False, "error": "ratelimited"}
    assert bench.book() == []


def test_a_fault_can_name_the_error(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.REFUSE, "slack", "post_message", code="restricted_action"))
    bench.world.faults.add(Fault(Kind.REFUSE, "slack", "webhook", code="action_prohibited"))

    assert bench.post() == {"ok": False, "error": "restricted_action"}
    assert bench.hook({"text": "x"}).status_code == 403
    assert bench.book() == []


def test_a_reply_lost_after_the_post_can_be_found_by_its_metadata(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LOST_REPLY, "slack", "post_message"))

    with pytest.raises(ConnectionCutError):
        bench.post(metadata=METADATA)
    [found] = bench.read("conversations.history", channel=CHANNEL, include_all_metadata="true")["messages"]
    assert found["metadata"]["event_payload"]["op"] == "9f0c"
    assert len(bench.book()) == 1


def test_a_click_is_sent_signed_as_a_form_with_the_buttons_value(bench: Bench) -> None:
    bench.world.webhooks.subscribe("slack", Subscription("http://rf.example/hooks/slack", "practice-secret"))
    ts = bench.post(blocks=[SECTION, BUTTONS], metadata=METADATA)["ts"]
    bench.world.settle("slack", {"click": "refund_approve", "ts": ts})
    bench.world.webhooks.wait_idle()
    bench.world.close()

    [(url, headers, body)] = bench.posted
    assert url == "http://rf.example/hooks/slack"
    at = headers["X-Slack-Request-Timestamp"]
    digest = hmac.new(b"practice-secret", f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    assert headers["X-Slack-Signature"] == f"v0={digest}"
    payload = json.loads(parse_qs(body.decode())["payload"][0])
    assert payload["user"]["id"] == PERSON
    assert payload["message"]["ts"] == ts
    [action] = payload["actions"]
    assert (action["action_id"], action["block_id"], action["value"]) == (
        "refund_approve",
        "rf:RF-77",
        "9f0c",
    )
    check_document(specs("slack") / "block_actions.request.schema.json", payload)


def test_a_button_that_came_with_an_update_can_be_pressed(bench: Bench) -> None:
    ts = bench.post(metadata=METADATA)["ts"]
    bare = {name: value for name, value in BUTTONS.items() if name != "block_id"}
    bench.call("chat.update", {"channel": CHANNEL, "ts": ts, "text": "decide", "blocks": [SECTION, bare]})

    event = bench.slack.event_for("block_actions", f"{ts}/refund_approve")
    [action] = event.body["actions"]
    assert action["block_id"]
    assert event.body["message"]["metadata"] == METADATA


def test_a_message_that_a_person_deleted_is_gone(bench: Bench) -> None:
    ts = bench.post()["ts"]

    assert bench.world.settle("slack", {"delete": ts}) == [{"deleted": ts, "channel": CHANNEL}]
    assert bench.read("conversations.history", channel=CHANNEL)["messages"] == []
    edited = bench.call("chat.update", {"channel": CHANNEL, "ts": ts, "text": "x"})
    assert edited["error"] == "message_not_found"
    with pytest.raises(NoSuchObjectError, match="no message"):
        bench.world.settle("slack", {"delete": ts})
    assert len(bench.book()) == 1


def test_a_click_on_what_is_not_there_is_an_error_at_the_controls(bench: Bench) -> None:
    ts = bench.post()["ts"]

    with pytest.raises(NoSuchObjectError, match="no message"):
        bench.world.settle("slack", {"click": "refund_approve", "ts": ts})


def test_answers_fit_the_published_description(bench: Bench) -> None:
    spec = specs("slack") / "slack_web_api.openapi.json"
    posted = bench.post(blocks=[SECTION], metadata=METADATA)
    ts = posted["ts"]
    bench.post("reply", thread_ts=ts)

    check_response(spec, "POST", "/chat.postMessage", 200, posted)
    check_response(spec, "GET", "/auth.test", 200, bench.read("auth.test"))
    link = bench.read("chat.getPermalink", channel=CHANNEL, message_ts=ts)
    check_response(spec, "GET", "/chat.getPermalink", 200, link)
    history = bench.read("conversations.history", channel=CHANNEL, include_all_metadata="true")
    check_response(spec, "GET", "/conversations.history", 200, history)
    check_response(
        spec,
        "GET",
        "/conversations.replies",
        200,
        bench.read("conversations.replies", channel=CHANNEL, ts=ts),
    )
    bare = bench.post("plain")["ts"]
    edited = bench.call("chat.update", {"channel": CHANNEL, "ts": bare, "text": "edited"})
    check_response(spec, "POST", "/chat.update", 200, edited)


def test_a_reset_forgets_messages_and_book(bench: Bench) -> None:
    bench.post()
    bench.world.reset("slack")

    assert bench.book() == []
    assert bench.read("conversations.history", channel=CHANNEL)["messages"] == []
