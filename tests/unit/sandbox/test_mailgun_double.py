"""The practice Mailgun: what it sends, what it refuses, when its events can be found, and what it notes in its book."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.mailgun import API_KEY, DOMAIN, SENDING_KEY, Mailgun, signature_of
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START_S = 1795435200
ADA = "ada@example.com"
MESSAGE_ID = "rf-9f0c@mg.practice.example"
MAIL = {
    "from": f"Shop <orders@{DOMAIN}>",
    "to": ADA,
    "subject": "Order 1001 cancelled [RF-77-3]",
    "text": "We refunded 42.50 EUR",
    "h:Message-Id": f"<{MESSAGE_ID}>",
    "h:Auto-Submitted": "auto-generated",
    "v:rf_op": "9f0c",
    "o:tag": "refund-notice",
}


def _basic(key: str, user: str = "api") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}


class Bench:
    """A practice Mailgun behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Mailgun], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("mailgun")
        assert isinstance(vendor, Mailgun)
        self.mailgun = vendor

    def _receive(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def send(self, changes: Mapping[str, Any] | None = None, *, key: str = SENDING_KEY) -> Result:
        form = {name: value for name, value in {**MAIL, **(changes or {})}.items() if value is not None}
        return self.client.simulate_post(
            f"/mailgun/v3/{DOMAIN}/messages",
            body=urlencode(form, doseq=True),
            headers={**_basic(key), "Content-Type": "application/x-www-form-urlencoded"},
        )

    def get(self, path: str, *, key: str = API_KEY, **query: Any) -> Result:
        return self.client.simulate_get(f"/mailgun{path}", query_string=urlencode(query), headers=_basic(key))

    def events(self, **query: Any) -> list[Record]:
        items: list[Record] = self.get(f"/v3/{DOMAIN}/events", **query).json["items"]
        return items

    def book(self, effect: str | None = None) -> list[Record]:
        return self.mailgun.book.lines(effect)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_message_is_queued_under_its_own_id_and_noted_once(bench: Bench) -> None:
    result = bench.send()

    assert result.status_code == 200
    assert result.json == {"id": f"<{MESSAGE_ID}>", "message": "Queued. Thank you."}
    assert bench.book() == [
        {
            "at": START.isoformat(),
            "vendor": "mailgun",
            "effect": "send_message",
            "id": MESSAGE_ID,
            "amount_minor": None,
            "currency": None,
            "target": {"domain": DOMAIN, "recipient": ADA},
            "reference": "9f0c",
            "idempotency_key": None,
            "recipient": ADA,
            "subject": "Order 1001 cancelled [RF-77-3]",
            "text": "We refunded 42.50 EUR",
            "message_id": f"<{MESSAGE_ID}>",
            "rf_op": "9f0c",
            "tags": ["refund-notice"],
        }
    ]


def test_the_same_message_id_twice_is_two_mails(bench: Bench) -> None:
    bench.send()
    bench.send()

    assert [line["message_id"] for line in bench.book("send_message")] == [f"<{MESSAGE_ID}>"] * 2


def test_a_house_that_makes_its_own_message_ids_still_keeps_the_user_variables(bench: Bench) -> None:
    bench.world.seed({"mailgun": {"habits": {"keeps_message_id": False}}})
    result = bench.send()

    assert result.json["id"] != f"<{MESSAGE_ID}>"
    assert bench.events(**{"message-id": MESSAGE_ID}) == []
    assert {each["user-variables"]["rf_op"] for each in bench.events(recipient=ADA)} == {"9f0c"}


def test_a_multipart_form_is_read_too(bench: Bench) -> None:
    boundary = "practice-boundary"
    parts = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**MAIL, "text": "Größe: 42,50 €"}.items()
    )
    result = bench.client.simulate_post(
        f"/mailgun/v3/{DOMAIN}/messages",
        body=f"{parts}--{boundary}--\r\n".encode(),
        headers={**_basic(API_KEY), "Content-Type": f"multipart/form-data; boundary={boundary}"},
    )

    assert result.status_code == 200
    assert [(line["text"], line["rf_op"]) for line in bench.book()] == [("Größe: 42,50 €", "9f0c")]


def test_json_is_no_form(bench: Bench) -> None:
    result = bench.client.simulate_post(f"/mailgun/v3/{DOMAIN}/messages", json=MAIL, headers=_basic(API_KEY))

    assert (result.status_code, result.json) == (400, {"message": "from parameter is missing"})
    assert bench.book() == []


@pytest.mark.parametrize(
    ("_case", "changes", "message"),
    [
        ("no sender", {"from": None}, "from parameter is missing"),
        ("sender without domain", {"from": "orders"}, "from parameter is not a valid address. please check documentation"),
        ("no recipient", {"to": None}, "to parameter is missing"),
        ("recipient without domain", {"to": "ada"}, "to parameter is not a valid address. please check documentation"),
        ("no subject", {"subject": None}, "subject parameter is missing"),
        ("no body", {"text": None}, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"),
        ("strange yes", {"o:require-tls": "sure"}, "o:require-tls parameter must be one of yes, no, true, false"),
        ("test mode no", {"o:testmode": "no"}, "o:testmode parameter must be one of yes"),
        ("two days", {"o:deliver-within": "48h"}, "o:deliver-within parameter must be between 5m and 24h, such as 1h30m"),
        ("variables no JSON", {"t:variables": "x"}, "t:variables parameter is not a valid JSON dictionary"),
        ("17 KB of options", {"v:rf_note": "x" * 17_000}, "Send options (parameters starting with o:, h:, v:, or t:) are limited to 16 KB in total"),
    ],
)  # fmt: skip
def test_a_wrong_message_is_refused_and_nothing_is_sent(
    bench: Bench, _case: str, changes: dict[str, Any], message: str
) -> None:
    result = bench.send(changes)

    assert (result.status_code, result.json) == (400, {"message": message})
    assert bench.book() == []
    assert bench.events() == []


@pytest.mark.parametrize(
    ("_case", "headers"),
    [
        ("none", {}),
        ("another key", _basic("key-other")),
        ("another user", _basic(API_KEY, "root")),
        ("a bearer", {"Authorization": f"Bearer {API_KEY}"}),
        ("no base64", {"Authorization": "Basic %%%"}),
    ],
)
def test_bad_credentials_get_a_plain_text_401(bench: Bench, _case: str, headers: dict[str, str]) -> None:
    result = bench.client.simulate_post(
        f"/mailgun/v3/{DOMAIN}/messages",
        body=urlencode(MAIL),
        headers={**headers, "Content-Type": "application/x-www-form-urlencoded"},
    )

    assert (result.status_code, result.text) == (401, "Forbidden")
    assert bench.book() == []


def test_the_sending_key_cannot_read(bench: Bench) -> None:
    assert bench.send(key=SENDING_KEY).status_code == 200
    assert bench.get(f"/v3/{DOMAIN}/events", key=SENDING_KEY).status_code == 401


def test_an_unknown_domain_is_404_and_a_disabled_one_sends_nothing(bench: Bench) -> None:
    bench.world.seed({"mailgun": {"domains": [{"name": DOMAIN, "state": "disabled"}]}})

    assert bench.send().status_code == 403
    assert bench.get("/v4/domains/other.example").json == {"message": "Domain not found: other.example"}
    assert bench.get(f"/v4/domains/{DOMAIN}").json["domain"]["state"] == "disabled"
    assert bench.book() == []


def test_each_recipient_gets_one_copy(bench: Bench) -> None:
    bench.send({"to": f"Ada <{ADA}>, bob@example.com", "cc": ["ADA@example.com", "eve@example.com"]})

    assert [line["recipient"] for line in bench.book()] == [ADA, "bob@example.com", "eve@example.com"]


def test_test_mode_sends_nothing_out_of_the_house(bench: Bench) -> None:
    bench.world.seed({"mailgun": {"bouncing": [ADA]}})
    bench.send({"o:testmode": "yes"})

    assert bench.book("send_message") == []
    assert len(bench.book("test_message")) == 1
    assert [(each["event"], each["flags"]["is-test-mode"]) for each in bench.events()] == [
        ("delivered", True),
        ("accepted", True),
    ]


def test_a_suppressed_address_is_dropped(bench: Bench) -> None:
    bench.world.seed({"mailgun": {"suppressions": [{"list": "complaints", "address": "Ada@example.com"}]}})
    assert bench.send().status_code == 200

    assert [line["effect"] for line in bench.book()] == ["drop_message"]
    [failed] = bench.events(event="failed")
    assert (failed["reason"], failed["severity"]) == ("suppress-complaint", "permanent")


def test_a_bounce_is_told_and_suppresses_the_address(bench: Bench) -> None:
    bench.world.seed({"mailgun": {"bouncing": [ADA]}})
    assert bench.get(f"/v3/{DOMAIN}/bounces/{ADA}").status_code == 404
    bench.send()
    bench.send()

    assert [line["effect"] for line in bench.book()] == ["send_message", "drop_message"]
    entry = bench.get(f"/v3/{DOMAIN}/bounces/{ADA}").json
    assert (entry["address"], entry["code"], entry["error"]) == (ADA, "550", "No such mailbox")
    assert bench.get(f"/v3/{DOMAIN}/unsubscribes/{ADA}").json == {
        "message": "Address not found in unsubscribes table"
    }


def test_events_are_found_by_recipient_message_id_and_kind(bench: Bench) -> None:
    bench.send()
    bench.send({"to": "bob@example.com", "h:Message-Id": "<other@mg.practice.example>"})

    [found] = bench.events(recipient=ADA, event="accepted", **{"message-id": MESSAGE_ID})
    assert found["message"]["headers"]["message-id"] == MESSAGE_ID
    assert found["timestamp"] == float(START_S)
    assert found["user-variables"] == {"rf_op": "9f0c"}
    assert len(bench.events(event="accepted OR delivered")) == 4
    assert [each["recipient"] for each in bench.events(event="accepted", subject="RF-77", to="bob")] == [
        "bob@example.com"
    ]
    assert len(bench.events(tags="refund-notice")) == 4
    assert bench.events(tags="other") == []


def test_a_message_id_with_angle_brackets_finds_nothing(bench: Bench) -> None:
    bench.send()

    assert bench.events(**{"message-id": f"<{MESSAGE_ID}>"}) == []


def test_events_show_late_as_long_as_the_delay(bench: Bench) -> None:
    bench.world.seed({"mailgun": {"habits": {"events_delay_s": 90}}})
    bench.send()

    bench.now += timedelta(seconds=89)
    assert bench.events(recipient=ADA) == []
    bench.now += timedelta(seconds=1)
    assert [each["event"] for each in bench.events(recipient=ADA)] == ["delivered", "accepted"]
    bench.now += timedelta(days=3)
    assert bench.events(recipient=ADA) == []


def test_a_range_with_an_open_end_needs_a_direction(bench: Bench) -> None:
    bench.now -= timedelta(hours=2)
    bench.send({"h:Message-Id": "<early@mg.practice.example>"})
    bench.now += timedelta(hours=2)
    bench.send({"h:Message-Id": "<late@mg.practice.example>"})

    def seen(**query: Any) -> list[str]:
        found = bench.events(event="accepted", **query)
        return [each["message"]["headers"]["message-id"].partition("@")[0] for each in found]

    noon = START_S - 3600
    assert bench.get(f"/v3/{DOMAIN}/events", begin=noon).status_code == 400
    assert seen(begin=noon, ascending="yes") == ["late"]
    assert seen(begin=noon, ascending="no") == ["early"]
    assert seen(begin=noon, end=START_S) == ["late"]
    assert seen(begin=START_S, end=0) == ["late", "early"]
    assert seen(begin="Mon, 23 Nov 2026 11:00:00 +0000", ascending="yes") == ["late"]
    assert seen(ascending="yes") == ["early", "late"]
    assert bench.get(f"/v3/{DOMAIN}/events", begin=0, end=noon, ascending="no").status_code == 400


def test_pages_lead_on_until_an_empty_one(bench: Bench) -> None:
    for i in range(3):
        bench.send({"h:Message-Id": f"<m{i}@mg.practice.example>"})

    seen, address = [], f"/mailgun/v3/{DOMAIN}/events?event=accepted&ascending=yes&limit=2"
    while True:
        url = urlsplit(address)
        page = bench.client.simulate_get(url.path, query_string=url.query, headers=_basic(API_KEY)).json
        if not page["items"]:
            break
        seen.append([each["message"]["headers"]["message-id"][:2] for each in page["items"]])
        address = page["paging"]["next"]
        assert address.startswith("http://falconframework.org/mailgun/v3/")
    assert seen == [["m0", "m1"], ["m2"]]
    assert bench.get(f"/v3/{DOMAIN}/events", limit=301).status_code == 400
    assert bench.get(f"/v3/{DOMAIN}/events/nonsense").status_code == 400


def test_a_message_held_back_is_delivered_when_settled(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.SLOW_PENDING, "mailgun", "send_message"))
    bench.send()
    assert [each["event"] for each in bench.events()] == ["accepted"]

    bench.world.settle("mailgun", {"message": f"<{MESSAGE_ID}>", "event": "delivered"})
    assert [each["event"] for each in bench.events()] == ["delivered", "accepted"]
    assert len(bench.book()) == 1
    with pytest.raises(NoSuchObjectError):
        bench.world.settle("mailgun", {"message": "<none@x>", "event": "delivered"})


def test_a_late_failure_bounces_after_it_was_delivered(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LATE_FAILURE, "mailgun", "send_message"))
    bench.send()
    bench.world.settle("mailgun", {})

    assert [each["event"] for each in bench.events()] == ["failed", "delivered", "accepted"]
    assert bench.get(f"/v3/{DOMAIN}/bounces/{ADA}").status_code == 200


def test_a_reply_lost_after_the_send_can_be_found_by_its_message_id(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LOST_REPLY, "mailgun", "send_message"))

    with pytest.raises(ConnectionCutError):
        bench.send()
    assert len(bench.events(event="accepted", **{"message-id": MESSAGE_ID})) == 1
    assert len(bench.book()) == 1


def test_a_lost_request_a_429_and_a_refusal_send_nothing(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LOST_REQUEST, "mailgun"))
    bench.world.faults.add(Fault(Kind.STATUS, "mailgun", status=429, headers={"Retry-After": "5"}))
    bench.world.faults.add(
        Fault(Kind.REFUSE, "mailgun", code="Sandbox subdomains are for test purposes only.")
    )

    with pytest.raises(ConnectionCutError):
        bench.send()
    limited, refused = bench.send(), bench.send()
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "5")
    assert limited.json == {"message": "Too many requests"}
    assert (refused.status_code, refused.json["message"]) == (
        400,
        "Sandbox subdomains are for test purposes only.",
    )
    assert bench.book() == []


def test_event_webhooks_are_signed_over_time_stamp_and_token(bench: Bench) -> None:
    bench.world.webhooks.subscribe("mailgun", Subscription("http://rf.example/hooks", "practice-signing-key"))
    bench.send()
    bench.world.webhooks.wait_idle()
    bench.world.close()

    bodies = [json.loads(body) for _, _, body in bench.posted]
    assert [each["event-data"]["event"] for each in bodies] == ["accepted", "delivered"]
    for body in bodies:
        signature = body["signature"]
        told = f"{signature['timestamp']}{signature['token']}".encode()
        assert signature["signature"] == hmac.new(b"practice-signing-key", told, hashlib.sha256).hexdigest()
        check_document(specs("mailgun") / "event_webhook.request.schema.json", body)


@pytest.mark.parametrize(("is_anew", "tokens"), [(True, 2), (False, 1)])
def test_a_retried_webhook_is_signed_anew_or_not(bench: Bench, is_anew: bool, tokens: int) -> None:
    bench.world.seed({"mailgun": {"habits": {"signs_retries_anew": is_anew}}})
    bench.send()
    event = bench.mailgun.event_for("delivered", MESSAGE_ID)

    bodies = [json.loads(bench.mailgun.sign(event, "http://rf.example", "s").body) for _ in range(2)]
    assert len({each["signature"]["token"] for each in bodies}) == tokens


def test_mail_that_comes_in_is_stored_and_posted_as_a_signed_form(bench: Bench) -> None:
    bench.world.webhooks.subscribe("mailgun", Subscription("http://rf.example/in", "practice-signing-key"))
    mail = {
        "recipient": "cancel@in.practice.example",
        "from": "Ada <ada@example.com>",
        "subject": "Please cancel order 1001",
        "body-plain": "I changed my mind.",
        "spf": "Pass",
    }
    [made] = bench.world.settle("mailgun", {"inbound": mail})
    bench.world.webhooks.wait_idle()
    bench.world.close()

    [(_, headers, body)] = bench.posted
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    check_document(specs("mailgun") / "inbound_route.request.schema.json", form)
    assert (form["sender"], form["subject"]) == ("ada@example.com", "Please cancel order 1001")
    assert ["X-Mailgun-Spf", "Pass"] in json.loads(form["message-headers"])[:3]
    stored = bench.get(f"/v3/domains/{DOMAIN}/messages/{made['inbound']}").json
    assert (stored["body-plain"], stored["sender"]) == ("I changed my mind.", "ada@example.com")
    assert bench.book() == []


def test_mail_to_an_address_that_ends_in_mime_comes_whole(bench: Bench) -> None:
    mail = {"recipient": "c@in.practice.example", "from": ADA, "subject": "Hello", "body-plain": "x"}
    made = bench.world.seed({"mailgun": {"inbound": [mail]}})["mailgun"]
    event = bench.mailgun.event_for("inbound", made["inbound"][0])

    form = parse_qs(bench.mailgun.sign(event, "http://rf.example/in/mime", "s").body.decode())
    assert "body-plain" not in form
    assert form["body-mime"][0].endswith("\r\n\r\nx")


def test_mail_with_files_is_posted_as_multipart(bench: Bench) -> None:
    file = {"name": "receipt.pdf", "type": "application/pdf", "content": "%PDF-1.7"}
    mail = {
        "recipient": "c@in.practice.example",
        "from": ADA,
        "subject": "Grüße",
        "body-plain": "x\r\ny",
        "files": [file],
    }
    made = bench.world.seed({"mailgun": {"inbound": [mail]}})["mailgun"]
    event = bench.mailgun.event_for("inbound", made["inbound"][0])
    posted = bench.mailgun.sign(event, "http://rf.example/in", "s")

    head = f"Content-Type: {posted.headers['Content-Type']}\r\n\r\n".encode()
    parts = {
        str(part.get_param("name", header="content-disposition")): part
        for part in BytesParser().parsebytes(head + posted.body).walk()
        if not part.is_multipart()
    }
    texts = {
        name: bytes(part.get_payload(decode=True)).decode()
        for name, part in parts.items()
        if part.get_filename() is None
    }
    check_document(specs("mailgun") / "inbound_route.request.schema.json", texts)
    assert (texts["subject"], texts["body-plain"], texts["attachment-count"]) == ("Grüße", "x\r\ny", "1")
    assert parts["attachment-1"].get_filename() == "receipt.pdf"
    assert "files" not in parts


def test_the_constructed_signature_vector_is_reproduced() -> None:
    token = "0123456789abcdef0123456789abcdef0123456789abcdef01"

    expected = "9e3bcd30fe023c2571a196f904c7958e217237ad7e51a74432f7ab816ac6dd62"
    assert signature_of("rf-test-signing-key", "1700000000", token) == expected


def test_answers_fit_the_published_description(bench: Bench) -> None:
    spec = specs("mailgun") / "mailgun.openapi.json"
    bench.world.seed({"mailgun": {"bouncing": ["bob@example.com"]}})
    sent = bench.send({"to": f"{ADA}, bob@example.com"})

    check_response(spec, "POST", "/v3/{domain_name}/messages", 200, sent.json)
    check_response(spec, "POST", "/v3/{domain_name}/messages", 400, bench.send({"to": "x"}).json)
    check_response(spec, "GET", "/v3/{domain_name}/events", 200, bench.get(f"/v3/{DOMAIN}/events").json)
    absent = bench.get(f"/v3/{DOMAIN}/bounces/{ADA}").json
    check_response(spec, "GET", "/v3/{domain_name}/bounces/{address}", 404, absent)
    key = bench.events()[0]["storage"]["key"]
    stored = bench.get(f"/v3/domains/{DOMAIN}/messages/{key}")
    assert stored.status_code == 200
    assert stored.json["body-plain"] == "We refunded 42.50 EUR"


def test_a_seed_that_cannot_be_read_says_what_is_wrong(bench: Bench) -> None:
    with pytest.raises(ValueError, match="no list 'friends'"):
        bench.world.seed({"mailgun": {"suppressions": [{"list": "friends", "address": ADA}]}})
    with pytest.raises(ValueError, match="subject"):
        bench.world.seed({"mailgun": {"inbound": [{"recipient": "a@b.c", "from": ADA}]}})
