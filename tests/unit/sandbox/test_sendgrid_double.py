"""The practice SendGrid: what it sends, what it refuses, how its mails are found again, and what it posts, signed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Delivery, Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.sendgrid import (
    API_KEY,
    ARGUMENTS_MOST,
    DOMAIN,
    EVENT_PUBLIC_KEY,
    PARSE_PUBLIC_KEY,
    READING_KEY,
    SENDING_KEY,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    WEBHOOK_SECRET,
    SendGrid,
    events_body,
    public_key_of,
    signed_bytes,
)
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START_S = 1795435200
ADA = "ada@example.com"
SUBJECT = "Refund for order 1001 [RF-77-3]"
PERSON = {"to": [{"email": ADA}], "custom_args": {"rf_op": "9f0c", "rf_case": "RF-77"}}
MAIL: Record = {
    "personalizations": [PERSON],
    "from": {"email": f"orders@{DOMAIN}", "name": "Shop"},
    "reply_to": {"email": "cancel+RF-77@in.practice.example"},
    "subject": SUBJECT,
    "headers": {"Auto-Submitted": "auto-generated"},
    "content": [{"type": "text/plain", "value": "We refunded 42.50 EUR"}],
    "categories": ["refund-notice"],
    "tracking_settings": {"open_tracking": {"enable": False}},
}
LETTER = {
    "to": "cancel@in.practice.example",
    "from": "Ada <ada@example.com>",
    "subject": "Please cancel order 1001",
    "text": "I changed my mind.",
    "spf": "pass",
    "dkim": "{@example.com : pass}",
}


class Bench:
    """A practice SendGrid behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.world = World([SendGrid], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("sendgrid")
        assert isinstance(vendor, SendGrid)
        self.sendgrid = vendor

    def _receive(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.posted.append((dict(headers), body))
        return 200

    def seed(self, **data: Any) -> Record:
        return self.world.seed({"sendgrid": data})["sendgrid"]

    def fault(self, kind: Kind, **more: Any) -> None:
        self.world.faults.add(Fault(kind, "sendgrid", **more))

    def post(self, path: str, body: Any, *, key: str = API_KEY) -> Result:
        headers = {"Authorization": f"Bearer {key}"}
        return self.client.simulate_post(f"/sendgrid{path}", json=body, headers=headers)

    def get(self, path: str, *, key: str = API_KEY, **query: Any) -> Result:
        headers = {"Authorization": f"Bearer {key}"}
        return self.client.simulate_get(f"/sendgrid{path}", query_string=urlencode(query), headers=headers)

    def send(self, changes: Mapping[str, Any] | None = None, *, key: str = SENDING_KEY) -> Result:
        body = {name: value for name, value in {**MAIL, **(changes or {})}.items() if value is not None}
        return self.post("/v3/mail/send", body, key=key)

    def sent(self, changes: Mapping[str, Any] | None = None) -> str:
        """The X-Message-Id of a mail that was taken."""
        result = self.send(changes)
        assert result.status_code == 202
        return result.headers["X-Message-Id"]

    def logs(self, query: str, **more: Any) -> list[Record]:
        result = self.post("/v3/logs", {"query": query, **more}, key=READING_KEY)
        assert result.status_code == 200
        found: list[Record] = result.json["messages"]
        return found

    def kinds(self, to: str = ADA) -> list[str]:
        """The names of what happened to the newest mail to somebody."""
        [newest, *_] = self.logs(f"to_email='{to}'")
        log = self.get(f"/v3/logs/{newest['sg_message_id']}")
        return [each["event"] for each in log.json["events"]]

    def book(self, effect: str | None = None) -> list[Record]:
        return self.sendgrid.book.lines(effect)

    def listen(self, secret: str = WEBHOOK_SECRET) -> None:
        self.world.webhooks.subscribe("sendgrid", Subscription("http://rf.example/hooks", secret))

    def heard(self) -> list[tuple[dict[str, str], bytes]]:
        self.world.webhooks.wait_idle()
        self.world.close()
        return self.posted


@pytest.fixture
def bench() -> Bench:
    return Bench()


def is_signed(headers: Mapping[str, str], body: bytes, public_key: str) -> bool:
    """As a receiver does it: with nothing but the public key, the headers and the raw bytes."""
    key = load_der_public_key(base64.b64decode(public_key))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    told = headers[TIMESTAMP_HEADER].encode() + body
    try:
        key.verify(base64.b64decode(headers[SIGNATURE_HEADER]), told, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def read_form(headers: Mapping[str, str], body: bytes) -> dict[str, bytes]:
    whole = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    parts: Any = whole.get_payload()
    return {
        each.get_param("name", header="content-disposition"): each.get_payload(decode=True) for each in parts
    }


def letter_form(bench: Bench, **changes: Any) -> dict[str, bytes]:
    [id] = bench.seed(inbound=[{**LETTER, **changes}])["inbound"]
    signed = bench.sendgrid.sign(bench.sendgrid.event_for("inbound", id), "http://rf.example", "")
    return read_form(signed.headers, signed.body)


# ---------------------------------------------------------------- sending


def test_a_mail_is_queued_with_an_empty_answer_and_noted_once(bench: Bench) -> None:
    result = bench.send()

    assert (result.status_code, result.content) == (202, b"")
    message_id = result.headers["X-Message-Id"]
    [line] = bench.book()
    assert line["id"].startswith(f"{message_id}.recvd-")
    assert line == {
        "at": START.isoformat(),
        "vendor": "sendgrid",
        "effect": "send_message",
        "id": line["id"],
        "amount_minor": None,
        "currency": None,
        "target": {"recipient": ADA},
        "reference": "9f0c",
        "idempotency_key": None,
        "recipient": ADA,
        "subject": SUBJECT,
        "text": "We refunded 42.50 EUR",
        "message_id": message_id,
        "rf_op": "9f0c",
        "custom_args": {"rf_op": "9f0c", "rf_case": "RF-77"},
        "categories": ["refund-notice"],
    }


def test_the_same_mail_twice_is_two_mails(bench: Bench) -> None:
    assert bench.sent() != bench.sent()
    assert [line["rf_op"] for line in bench.book("send_message")] == ["9f0c", "9f0c"]


def test_sandbox_mode_checks_the_mail_and_sends_nothing(bench: Bench) -> None:
    settings = {"sandbox_mode": {"enable": True}}
    result = bench.send({"mail_settings": settings})

    assert (result.status_code, result.content) == (200, b"")
    assert [line["effect"] for line in bench.book()] == ["test_message"]
    assert bench.logs("") == []
    assert bench.send({"mail_settings": settings, "subject": None}).status_code == 400


def test_every_recipient_gets_one_copy_with_what_stands_for_that_person(bench: Bench) -> None:
    people = [
        {"to": [{"email": ADA}], "cc": [{"email": "eve@example.com"}], "custom_args": {"rf_op": "one"}},
        {"to": [{"email": "bob@example.com"}], "subject": "For Bob"},
    ]
    bench.sent({"personalizations": people, "custom_args": {"rf_op": "all", "rf_case": "RF-1"}})

    assert [(line["recipient"], line["rf_op"], line["subject"]) for line in bench.book()] == [
        (ADA, "one", SUBJECT),
        ("eve@example.com", "one", SUBJECT),
        ("bob@example.com", "all", "For Bob"),
    ]
    assert len({line["id"] for line in bench.book()}) == 3
    assert len({line["message_id"] for line in bench.book()}) == 1


def _person(**changes: Any) -> list[Record]:
    return [{**PERSON, **changes}]


@pytest.mark.parametrize(
    ("_case", "changes", "field", "message"),
    [
        ("no person", {"personalizations": None}, "personalizations", "The personalizations field is required"),
        ("no recipient", {"personalizations": [{"subject": "x"}]}, "personalizations.0.to", "The to array is required"),
        ("empty address", {"personalizations": _person(to=[{"email": ""}])}, "personalizations.0.to.0.email", "The to email parameter is required."),
        ("no domain", {"personalizations": _person(to=[{"email": "ada"}])}, "personalizations.0.to.0.email", "Does not contain a valid address."),
        ("bare string", {"personalizations": _person(to=[ADA])}, "personalizations.0.to.0", "Invalid type. Expected: object, given: string."),
        ("string sender", {"from": ADA}, "from", "Invalid type. Expected: object, given: string."),
        ("number as address", {"from": {"email": 7}}, "from.email", "Invalid type. Expected: string, given: integer."),
        ("twice", {"personalizations": _person(cc=[{"email": "ADA@example.com"}])}, "personalizations.0", "Each email address in the personalization block should be unique"),
        ("no sender", {"from": None}, "from.email", "The from object must be provided"),
        ("two kinds of reply", {"reply_to_list": [{"email": ADA}]}, "reply_to_list", "Use either"),
        ("no subject", {"subject": None}, "subject", "The subject is required."),
        ("no content", {"content": None}, "content", "Unless a valid template_id is provided"),
        ("empty text", {"content": [{"type": "text/plain", "value": ""}]}, "content.0.value", "The content value must be a string"),
        ("HTML first", {"content": [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}]}, "content", "text/plain must come first"),
        ("type no string", {"content": [{"type": ["text/plain"], "value": "x"}]}, "content.0.type", "The content type must be a string"),
        ("template", {"template_id": "d-1"}, "template_id", "The template_id must be"),
        ("reserved header", {"headers": {"Reply-To": ADA}}, "headers.Reply-To", "The header Reply-To is reserved"),
        ("header no string", {"headers": {"X-A": 1}}, "headers.X-A", "The value of a header"),
        ("long arguments", {"custom_args": {"x": "y" * ARGUMENTS_MOST}}, "custom_args", "The custom_args may not exceed"),
        ("eleven categories", {"categories": [str(i) for i in range(11)]}, "categories", "There may be ten"),
        ("a category twice", {"categories": ["a", "a"]}, "categories", "There may be ten"),
        ("long category", {"categories": ["a" * 256]}, "categories.0", "A category is"),
        ("73 hours ahead", {"send_at": START_S + 73 * 3600}, "send_at", "A send cannot be scheduled"),
        ("batch", {"batch_id": "b"}, "batch_id", "The batch_id"),
        ("group no number", {"asm": {"group_id": "7"}}, "asm.group_id", "The asm group_id"),
        ("two ways past", {"mail_settings": {"bypass_list_management": {"enable": True}, "bypass_spam_management": {"enable": True}}}, "mail_settings", "bypass_list_management cannot"),
        ("unknown field", {"custom_arg": {}}, "custom_arg", "Additional property custom_arg is not allowed"),
        ("unknown field of a person", {"personalizations": _person(customArgs={})}, "personalizations.0.customArgs", "Additional property customArgs"),
    ],
)  # fmt: skip
def test_a_wrong_mail_is_refused_by_field_and_nothing_is_sent(
    bench: Bench, _case: str, changes: Record, field: str, message: str
) -> None:
    result = bench.send(changes)

    assert result.status_code == 400
    [error] = result.json["errors"]
    assert error["field"] == field
    assert error["message"].startswith(message)
    assert error["help"].startswith("http://sendgrid.com/docs/")
    assert bench.book() == []
    assert bench.logs("") == []


def test_several_errors_are_told_at_once(bench: Bench) -> None:
    result = bench.send({"subject": None, "content": None})

    assert [each["field"] for each in result.json["errors"]] == ["subject", "content"]


def test_custom_arguments_that_are_no_strings_are_refused_without_a_reason(bench: Bench) -> None:
    result = bench.send({"personalizations": _person(custom_args={"rf_case": 77})})

    assert (result.status_code, result.json) == (
        400,
        {"errors": [{"message": "Bad Request", "field": None, "help": None}]},
    )
    assert bench.book() == []


def test_a_form_is_no_mail_and_neither_is_a_list(bench: Bench) -> None:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    form = bench.client.simulate_post("/sendgrid/v3/mail/send", body="a=b", headers=headers)

    assert form.json["errors"][0]["message"] == "Content-Type should be application/json."
    assert bench.post("/v3/mail/send", []).status_code == 400
    assert bench.book() == []


def test_an_unknown_field_can_be_overlooked_and_the_reference_is_lost_then(bench: Bench) -> None:
    bench.seed(habits={"refuses_unknown_fields": False})
    bench.sent({"personalizations": [{"to": [{"email": ADA}], "customArgs": {"rf_op": "9f0c"}}]})

    assert [line["reference"] for line in bench.book()] == [None]


def test_a_sender_that_is_not_verified_is_403_until_it_is(bench: Bench) -> None:
    other = {"from": {"email": "orders@shop.example"}}
    result = bench.send(other)
    assert result.status_code == 403
    assert result.json["errors"][0]["field"] == "from"
    assert result.json["errors"][0]["message"].startswith("The from address does not match a verified")
    assert bench.book() == []

    bench.seed(verified=["Orders@shop.example"])
    assert bench.send(other).status_code == 202
    assert bench.send({"from": {"email": "info@shop.example"}}).status_code == 403


# ---------------------------------------------------------------- at the door


@pytest.mark.parametrize(
    ("_case", "headers", "message"),
    [
        ("none", {}, "authorization required"),
        ("another key", {"Authorization": "Bearer SG.other.key"}, "The provided authorization grant is invalid, expired, or revoked"),
        ("basic", {"Authorization": f"Basic {API_KEY}"}, "The provided authorization grant is invalid, expired, or revoked"),
    ],
)  # fmt: skip
def test_bad_credentials_are_401(bench: Bench, _case: str, headers: dict[str, str], message: str) -> None:
    result = bench.client.simulate_post("/sendgrid/v3/mail/send", json=MAIL, headers=headers)

    assert (result.status_code, result.json["errors"][0]["message"]) == (401, message)
    assert bench.book() == []


def test_a_key_does_what_its_scopes_allow_and_tells_them(bench: Bench) -> None:
    assert bench.get("/v3/scopes", key=SENDING_KEY).json == {"scopes": ["mail.send"]}
    assert "messages.read" in bench.get("/v3/scopes", key=READING_KEY).json["scopes"]
    refused = bench.send(key=READING_KEY)
    assert (refused.status_code, refused.json["errors"][0]["message"]) == (403, "access forbidden")
    for path in (f"/v3/suppression/bounces/{ADA}", f"/v3/asm/suppressions/{ADA}", "/v3/logs/x"):
        assert bench.get(path, key=SENDING_KEY).status_code == 403
    assert bench.book() == []


def test_a_revoked_key_is_unknown_and_another_can_be_made(bench: Bench) -> None:
    bench.seed(keys={SENDING_KEY: None, "SG.mine.key": ["mail.send"]})

    assert bench.send(key=SENDING_KEY).status_code == 401
    assert bench.send(key="SG.mine.key").status_code == 202


def test_an_unknown_path_is_404_and_a_wrong_method_405(bench: Bench) -> None:
    assert bench.get("/v3/mail/sent").status_code == 404
    assert bench.get("/v3/mail/send").status_code == 405


def test_reads_are_counted_by_the_minute(bench: Bench) -> None:
    bench.seed(habits={"reads_per_minute": 2})
    first = bench.get("/v3/scopes")
    assert first.headers["X-RateLimit-Limit"] == "2"
    assert first.headers["X-RateLimit-Remaining"] == "1"
    assert first.headers["X-RateLimit-Reset"] == str(START_S + 60)
    bench.get("/v3/scopes")

    limited = bench.get("/v3/scopes")
    assert limited.status_code == 429
    assert limited.headers["X-RateLimit-Remaining"] == "0"
    assert limited.json["errors"][0]["message"] == "too many requests"
    bench.now += timedelta(seconds=60)
    assert bench.get("/v3/scopes").status_code == 200


def test_a_lost_request_a_429_and_a_refusal_send_nothing(bench: Bench) -> None:
    bench.fault(Kind.LOST_REQUEST)
    bench.fault(Kind.STATUS, status=429)
    bench.fault(Kind.STATUS, status=500)
    bench.fault(Kind.REFUSE, code="Maximum credits exceeded")

    with pytest.raises(ConnectionCutError):
        bench.send()
    limited, broken, refused = bench.send(), bench.send(), bench.send()
    assert (limited.status_code, limited.headers["X-RateLimit-Reset"]) == (429, str(START_S + 60))
    assert broken.json["errors"][0]["message"] == "internal server error"
    assert (refused.status_code, refused.json["errors"][0]["message"]) == (400, "Maximum credits exceeded")
    assert bench.book() == []


# ---------------------------------------------------------------- what becomes of a mail


def test_a_reply_lost_after_the_send_can_be_found_by_recipient_and_subject(bench: Bench) -> None:
    bench.fault(Kind.LOST_REPLY)

    with pytest.raises(ConnectionCutError):
        bench.send()
    [found] = bench.logs(f"to_email='{ADA}' AND subject='{SUBJECT}'")
    log = bench.get(f"/v3/logs/{quote(found['sg_message_id'])}")
    assert log.json["custom_args"]["rf_op"] == "9f0c"
    assert len(bench.book("send_message")) == 1


@pytest.mark.parametrize(
    ("code", "kinds"), [("", ["processed"]), ("deferred", ["processed", "deferred"]), ("queued", [])]
)
def test_a_mail_held_back_is_delivered_when_settled(bench: Bench, code: str, kinds: list[str]) -> None:
    bench.fault(Kind.SLOW_PENDING, code=code)
    message_id = bench.sent()
    assert len(bench.logs("")) == (1 if kinds else 0)
    assert (bench.kinds() if kinds else []) == kinds

    [settled] = bench.world.settle("sendgrid", {"message": message_id, "event": "delivered"})
    assert len(settled["ids"]) == 1
    assert bench.kinds() == [*kinds, "delivered"]
    assert len(bench.book()) == 1


def test_a_mail_for_later_waits(bench: Bench) -> None:
    message_id = bench.sent({"send_at": START_S + 3600})
    assert bench.logs("") == []

    bench.world.settle("sendgrid", {"message": message_id, "event": "processed"})
    assert bench.kinds() == ["processed"]


def test_deferrals_are_counted(bench: Bench) -> None:
    bench.fault(Kind.SLOW_PENDING, code="deferred")
    message_id = bench.sent()
    bench.world.settle("sendgrid", {"message": message_id, "event": "deferred", "reason": "421 busy"})

    [found] = bench.logs("")
    assert found["status"] == "deferred"
    events = bench.get(f"/v3/logs/{found['sg_message_id']}").json["events"]
    assert [(each["attempt"], each["response"]) for each in events[1:]] == [
        ("1", "450 4.2.1 try again later"),
        ("2", "421 busy"),
    ]


def test_a_bounce_suppresses_the_address_and_the_next_mail_is_dropped(bench: Bench) -> None:
    bench.seed(bouncing=[ADA])
    assert bench.get(f"/v3/suppression/bounces/{ADA}").json == []
    bench.sent()
    assert bench.kinds() == ["processed", "bounce"]
    bench.sent()

    assert bench.kinds() == ["dropped"]
    assert [line["effect"] for line in bench.book()] == ["send_message", "drop_message"]
    assert [each["status"] for each in bench.logs("")] == ["dropped", "bounced"]
    assert bench.get(f"/v3/suppression/bounces/{ADA}").json == [
        {"created": START_S, "email": ADA, "reason": "550 5.1.1 no such mailbox", "status": "5.1.1"}
    ]


def test_a_block_stops_no_later_mail(bench: Bench) -> None:
    bench.seed(blocking=[ADA])
    bench.sent()
    assert [each["status"] for each in bench.logs("")] == ["blocked"]
    assert len(bench.get(f"/v3/suppression/blocks/{ADA}").json) == 1

    bench.sent()
    assert [line["effect"] for line in bench.book()] == ["send_message", "send_message"]


@pytest.mark.parametrize(
    ("name", "reason", "bypass"),
    [
        ("bounces", "Bounced Address", "bypass_bounce_management"),
        ("invalid_emails", "Invalid", "bypass_bounce_management"),
        ("spam_reports", "Spam Reporting Address", "bypass_spam_management"),
        ("global", "Unsubscribed Address", "bypass_unsubscribe_management"),
    ],
)
def test_a_suppressed_address_gets_202_and_is_dropped_unless_bypassed(
    bench: Bench, name: str, reason: str, bypass: str
) -> None:
    bench.seed(suppressions=[{"list": name, "email": "Ada@example.com", "reason": "x"}])
    bench.sent()
    assert [(each["status"], each["reason"]) for each in bench.logs("")] == [("dropped", reason)]

    bench.sent({"mail_settings": {bypass: {"enable": True}}})
    bench.sent({"mail_settings": {"bypass_list_management": {"enable": True}}})
    effects = [line["effect"] for line in bench.book()]
    assert effects == ["drop_message", "send_message", "send_message"]


def test_suppressions_are_told_list_by_list(bench: Bench) -> None:
    lists = ("bounces", "blocks", "invalid_emails", "spam_reports")
    for name in lists:
        assert bench.get(f"/v3/suppression/{name}/{ADA}").json == []
    assert bench.get(f"/v3/asm/suppressions/global/{ADA}").json == {}
    every = [{"list": name, "email": ADA, "reason": "r", "status": "5.0.0"} for name in (*lists, "global")]
    bench.seed(suppressions=every)

    entry = {"created": START_S, "email": ADA, "reason": "r"}
    found = {name: bench.get(f"/v3/suppression/{name}/{quote(ADA)}").json for name in lists}
    assert found == {
        "bounces": [{**entry, "status": "5.0.0"}],
        "blocks": [{**entry, "status": "5.0.0"}],
        "invalid_emails": [entry],
        "spam_reports": [{"created": START_S, "email": ADA, "ip": "192.0.2.10"}],
    }
    assert bench.get(f"/v3/asm/suppressions/global/{ADA}").json == {"recipient_email": ADA}


def test_leaving_a_group_stops_the_mails_of_that_group_alone(bench: Bench) -> None:
    bench.seed(groups=[{"id": 7, "name": "Notices"}, {"id": 8, "name": "News"}])
    message_id = bench.sent({"asm": {"group_id": 7}})
    bench.world.settle("sendgrid", {"message": message_id, "event": "group_unsubscribe"})

    groups = bench.get(f"/v3/asm/suppressions/{ADA}").json["suppressions"]
    assert [(each["id"], each["name"], each["suppressed"]) for each in groups] == [
        (7, "Notices", True),
        (8, "News", False),
    ]
    bench.sent({"asm": {"group_id": 7}})
    bench.sent({"asm": {"group_id": 8}})
    effects = [line["effect"] for line in bench.book()]
    assert effects == ["send_message", "drop_message", "send_message"]


@pytest.mark.parametrize(("kind", "name"), [("spamreport", "spam_reports"), ("unsubscribe", "global")])
def test_who_complains_or_leaves_gets_no_more_mail(bench: Bench, kind: str, name: str) -> None:
    message_id = bench.sent()
    bench.world.settle("sendgrid", {"message": message_id, "event": kind})
    bench.sent()

    assert (name, ADA) in bench.sendgrid.suppressions
    assert [line["effect"] for line in bench.book()] == ["send_message", "drop_message"]
    assert [each["status"] for each in bench.logs("")] == ["dropped", "delivered"]


# ---------------------------------------------------------------- searching


def test_logs_are_asked_by_field_and_operator(bench: Bench) -> None:
    bench.sent()
    bench.now += timedelta(hours=1)
    bench.sent({"personalizations": _person(to=[{"email": "bob@example.com"}]), "subject": "It's done"})

    def seen(query: str) -> list[str]:
        return [each["to_email"].partition("@")[0] for each in bench.logs(query)]

    assert seen("") == ["bob", "ada"]
    assert seen("to_email = 'ada@example.com'") == ["ada"]
    assert seen("to_email='Ada@example.com'") == []
    assert seen("subject='It''s done'") == ["bob"]
    assert seen("subject='Refund'") == []
    assert seen("status IN ('delivered', 'bounced') AND categories IN ('refund-notice')") == ["bob", "ada"]
    assert seen("status IN ('bounced')") == []
    assert seen("sg_message_id_created_at>='2026-11-23T12:30:00Z'") == ["bob"]
    assert seen("sg_message_id_created_at<'2026-11-23T12:30:00Z'") == ["ada"]
    assert len(bench.logs("", limit=1)) == 1
    [found] = bench.logs("to_email='ada@example.com'")
    assert bench.logs(f"sg_message_id='{found['sg_message_id']}'") == [found]
    assert found["sg_message_id_created_at"] == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    "query",
    [
        "custom_args='9f0c'",
        'to_email="ada@example.com"',
        "to_email LIKE 'ada%'",
        "status='delivered'",
        "subject IN ('a')",
        "to_email='a' OR to_email='b'",
        "to_email='a' AND",
        "(to_email='a')",
        "sg_message_id_created_at>'yesterday'",
        "Subject='a'",
    ],
)
def test_a_query_that_logs_do_not_know_is_400(bench: Bench, query: str) -> None:
    result = bench.post("/v3/logs", {"query": query})

    assert (result.status_code, result.json["errors"][0]["field"]) == (400, "query")


@pytest.mark.parametrize("limit", [0, 1001, "10", True])
def test_a_limit_out_of_range_is_400(bench: Bench, limit: Any) -> None:
    assert bench.post("/v3/logs", {"limit": limit}).status_code == 400


def test_mails_are_found_late_as_long_as_the_delay_and_forgotten_after_thirty_days(bench: Bench) -> None:
    bench.seed(habits={"found_after_s": 90})
    bench.sent()
    [line] = bench.book()

    bench.now += timedelta(seconds=89)
    assert bench.logs("") == []
    assert bench.get(f"/v3/logs/{line['id']}").status_code == 404
    bench.now += timedelta(seconds=1)
    assert len(bench.logs("")) == 1
    bench.now += timedelta(days=30)
    assert bench.logs("") == []


def test_email_activity_is_an_addon_and_can_be_asked_for_a_custom_argument(bench: Bench) -> None:
    message_id = bench.sent()
    bench.sent({"personalizations": _person(custom_args={"rf_op": "other"})})
    assert bench.get("/v3/messages", query=f'to_email="{ADA}"').status_code == 403

    bench.seed(activity=True, habits={"activity_searches_per_minute": 8})
    by_argument = "unique_args['rf_op']=\"9f0c\""
    [found] = bench.get("/v3/messages", query=f'({by_argument}) AND to_email="{ADA}"').json["messages"]
    assert found["msg_id"].startswith(message_id)
    assert (found["status"], found["subject"]) == ("delivered", SUBJECT)
    assert bench.get("/v3/messages", query=f"msg_id LIKE '{message_id}%'").json["messages"] == [found]
    assert bench.get("/v3/messages", query=f'msg_id="{message_id}"').json["messages"] == []
    assert len(bench.get("/v3/messages", limit=1).json["messages"]) == 1
    for wrong in ({"query": 'custom_args="9f0c"'}, {"query": "x"}, {"limit": 0}):
        assert bench.get("/v3/messages", **wrong).status_code == 400


def test_email_activity_may_be_asked_six_times_a_minute(bench: Bench) -> None:
    bench.seed(activity=True)

    assert [bench.get("/v3/messages").status_code for _ in range(7)] == [200] * 6 + [429]


def test_ids_that_do_not_begin_with_the_calls_own_are_a_habit(bench: Bench) -> None:
    bench.seed(habits={"has_prefixed_ids": False})
    message_id = bench.sent()

    assert not bench.book()[0]["id"].startswith(message_id)
    assert bench.sendgrid.event_for("delivered", message_id).topic == "delivered"


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_message_id_of_the_senders_is_kept_or_not(bench: Bench, is_kept: bool) -> None:
    bench.seed(habits={"keeps_message_id": is_kept})
    bench.sent({"headers": {"Message-ID": "<rf-9f0c@sg.practice.example>"}})

    log = bench.get(f"/v3/logs/{bench.book()[0]['id']}").json
    assert (log["events"][0]["smtp-id"] == "<rf-9f0c@sg.practice.example>") is is_kept


# ---------------------------------------------------------------- event webhook


def test_the_vendors_published_vector_holds() -> None:
    """From the vendor's Python library, test/unit/test_eventwebhook.py."""
    body = events_body(
        [
            {
                "email": "hello@world.com",
                "event": "dropped",
                "reason": "Bounced Address",
                "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
                "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
                "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
                "timestamp": 1600112492,
            }
        ]
    )
    signature = (
        "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
    )
    public_key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
    headers = {SIGNATURE_HEADER: signature, TIMESTAMP_HEADER: "1600112502"}

    assert signed_bytes("1600112502", body) == b"1600112502" + body
    assert is_signed(headers, body, public_key)
    assert not is_signed(headers, body.rstrip(), public_key)
    assert not is_signed({**headers, TIMESTAMP_HEADER: "1600112503"}, body, public_key)
    assert not is_signed(headers, body, EVENT_PUBLIC_KEY)


def test_the_public_keys_belong_to_the_practice_secret() -> None:
    assert public_key_of(WEBHOOK_SECRET, "event") == EVENT_PUBLIC_KEY
    assert public_key_of(WEBHOOK_SECRET, "parse") == PARSE_PUBLIC_KEY


def test_what_one_call_caused_is_posted_as_one_signed_batch(bench: Bench) -> None:
    bench.listen()
    bench.sent({"personalizations": _person(cc=[{"email": "bob@example.com"}])})

    [(headers, body)] = bench.heard()
    assert headers["Content-Type"] == "application/json"
    assert headers[TIMESTAMP_HEADER] == str(START_S)
    assert is_signed(headers, body, EVENT_PUBLIC_KEY)
    assert not is_signed(headers, body, PARSE_PUBLIC_KEY)
    assert not is_signed(headers, json.dumps(json.loads(body)).encode(), EVENT_PUBLIC_KEY)
    assert body.endswith(b"]\r\n")
    events = json.loads(body)
    check_document(specs("sendgrid") / "event_webhook.request.schema.json", events)
    assert [(each["event"], each["email"]) for each in events] == [
        ("processed", ADA),
        ("delivered", ADA),
        ("processed", "bob@example.com"),
        ("delivered", "bob@example.com"),
    ]
    assert {each["rf_op"] for each in events} == {"9f0c"}
    assert {each["rf_case"] for each in events} == {"RF-77"}
    assert all("custom_args" not in each for each in events)
    assert len({each["sg_event_id"] for each in events}) == 4
    assert [each["sg_message_id"] for each in events[::2]] == [line["id"] for line in bench.book()]


def test_a_custom_argument_cannot_pose_as_the_vendors_own_field(bench: Bench) -> None:
    message_id = bench.sent({"personalizations": _person(custom_args={"event": "bounce", "email": "x"})})

    [told] = json.loads(bench.sendgrid.event_for("delivered", message_id).body)
    assert (told["event"], told["email"]) == ("delivered", ADA)


def test_a_copy_keeps_the_event_ids_and_a_retry_is_signed_anew_or_not(bench: Bench) -> None:
    message_id = bench.sent()
    event = bench.sendgrid.event_for("events", message_id)
    assert len(json.loads(event.body)) == 2

    def signed() -> Delivery:
        bench.now += timedelta(seconds=30)
        return bench.sendgrid.sign(event, "http://rf.example", WEBHOOK_SECRET)

    first, second = signed(), signed()
    assert first.body == second.body
    assert [each.headers[TIMESTAMP_HEADER] for each in (first, second)] == [
        str(START_S + 30),
        str(START_S + 60),
    ]
    bench.seed(habits={"signs_retries_anew": False})
    assert signed().headers[TIMESTAMP_HEADER] == signed().headers[TIMESTAMP_HEADER]
    assert is_signed(second.headers, second.body, EVENT_PUBLIC_KEY)


def test_a_batch_may_hold_the_events_of_several_mails(bench: Bench) -> None:
    first, second = bench.sent(), bench.sent({"personalizations": _person(custom_args={"rf_op": "a1b2"})})

    events = json.loads(bench.sendgrid.event_for("events", f"{second}, {first}").body)
    assert [each["rf_op"] for each in events] == ["a1b2", "a1b2", "9f0c", "9f0c"]
    with pytest.raises(NoSuchObjectError):
        bench.sendgrid.event_for("bounce", first)
    with pytest.raises(NoSuchObjectError):
        bench.sendgrid.event_for("events", "nobody")


def test_without_a_secret_nothing_is_signed(bench: Bench) -> None:
    event = bench.sendgrid.event_for("delivered", bench.sent())

    assert SIGNATURE_HEADER not in bench.sendgrid.sign(event, "http://rf.example", "").headers


def test_a_late_bounce_comes_after_the_delivery_and_names_no_message(bench: Bench) -> None:
    bench.fault(Kind.LATE_FAILURE)
    bench.sent()
    bench.listen()
    bench.world.settle("sendgrid", {})

    [(_, body)] = bench.heard()
    [told] = json.loads(body)
    assert (told["event"], told["type"], told["rf_op"]) == ("bounce", "bounce", "9f0c")
    assert "sg_message_id" not in told
    assert bench.kinds() == ["processed", "delivered", "bounce"]
    assert len(bench.get(f"/v3/suppression/bounces/{ADA}").json) == 1


def test_a_block_is_a_bounce_of_another_type_and_may_come_without_status(bench: Bench) -> None:
    bench.fault(Kind.SLOW_PENDING)
    message_id = bench.sent()
    bench.world.settle(
        "sendgrid", {"message": message_id, "event": "blocked", "reason": "no host", "status": ""}
    )

    [told] = json.loads(bench.sendgrid.event_for("bounce", message_id).body)
    assert (told["type"], told["reason"]) == ("blocked", "no host")
    assert "status" not in told


# ---------------------------------------------------------------- mail that comes in


def test_mail_that_comes_in_is_posted_as_a_signed_form(bench: Bench) -> None:
    bench.listen()
    [made] = bench.world.settle("sendgrid", {"inbound": LETTER})

    [(headers, body)] = bench.heard()
    assert is_signed(headers, body, PARSE_PUBLIC_KEY)
    assert not is_signed(headers, body, EVENT_PUBLIC_KEY)
    assert not is_signed(headers, body.rstrip(), PARSE_PUBLIC_KEY)
    form = {name: value.decode() for name, value in read_form(headers, body).items()}
    check_document(specs("sendgrid") / "inbound_parse.request.schema.json", form)
    assert json.loads(form["envelope"]) == {"to": ["cancel@in.practice.example"], "from": ADA}
    assert (form["SPF"], form["dkim"]) == ("pass", "{@example.com : pass}")
    assert (form["from"], form["text"], form["attachments"]) == (LETTER["from"], LETTER["text"], "0")
    assert "Subject: Please cancel order 1001\n" in form["headers"]
    assert "Message-ID: <" in form["headers"]
    assert bench.sendgrid.event_for("inbound", made["inbound"]).payload == body
    assert bench.book() == []


def test_fields_come_in_the_charsets_that_the_form_names(bench: Bench) -> None:
    form = letter_form(
        bench, subject="Größe", text="Größe falsch", charsets={"text": "iso-8859-1"}, html="<b>ö</b>"
    )

    charsets = json.loads(form["charsets"])
    assert charsets["text"] == "iso-8859-1"
    assert form["text"] == "Größe falsch".encode("iso-8859-1")
    assert form["html"] == "<b>ö</b>".encode()
    assert "Subject: =?utf-8?" in form["headers"].decode()


def test_the_envelope_and_the_header_lines_may_disagree(bench: Bench) -> None:
    form = letter_form(
        bench,
        cc="eve@example.com",
        envelope_from="mallory@evil.example",
        envelope_to="cancel+RF-77@in.practice.example",
        headers=[["From", "Shop <orders@sg.practice.example>"], ["Auto-Submitted", "auto-replied"]],
        spf="softfail",
        dkim="{@evil.example : pass}",
        message_id="",
        spam_score=7.5,
    )

    head = form["headers"].decode()
    assert head.count("From: ") == 2
    assert "Auto-Submitted: auto-replied\n" in head
    assert "Message-ID" not in head
    assert json.loads(form["envelope"]) == {
        "to": ["cancel+RF-77@in.practice.example"],
        "from": "mallory@evil.example",
    }
    assert (form["cc"], form["spam_score"]) == (b"eve@example.com", b"7.5")


def test_attachments_are_counted_listed_and_sent_along(bench: Bench) -> None:
    form = letter_form(
        bench, attachments=[{"filename": "a.txt", "type": "text/plain", "content": "hello"}], html="<p>x</p>"
    )

    assert (form["attachments"], form["attachment1"]) == (b"1", b"hello")
    info = json.loads(form["attachment-info"])
    assert info == {"attachment1": {"filename": "a.txt", "name": "a.txt", "type": "text/plain"}}
    assert b"multipart/mixed" in form["headers"]


def test_raw_mail_comes_whole_instead_of_in_parts(bench: Bench) -> None:
    bench.seed(send_raw=True)
    form = letter_form(bench, message_id="<m1@mail.example>")

    assert not {"text", "html", "headers", "attachments"} & set(form)
    whole = BytesParser().parsebytes(form["email"])
    assert (whole["Message-ID"], whole["Subject"]) == ("<m1@mail.example>", LETTER["subject"])
    body = whole.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.decode() == LETTER["text"]


# ---------------------------------------------------------------- the controls


def test_answers_fit_the_published_description(bench: Bench) -> None:
    folder = specs("sendgrid")
    every = ("bounces", "blocks", "invalid_emails", "spam_reports")
    bench.seed(activity=True, bouncing=["bob@example.com"])
    bench.sent({"personalizations": _person(cc=[{"email": "bob@example.com"}])})
    message_id = bench.sent({"personalizations": _person(to=[{"email": "eve@example.com"}])})
    for kind in ("deferred", "spamreport", "unsubscribe", "open", "blocked"):
        bench.world.settle("sendgrid", {"message": message_id, "event": kind})
    bench.seed(suppressions=[{"list": each, "email": ADA} for each in every])
    bench.sent()

    logs = folder / "logs.openapi.json"
    found = bench.post("/v3/logs", {"limit": 10}).json
    assert len(found["messages"]) == 4
    check_response(logs, "POST", "/v3/logs", 200, found)
    for each in found["messages"]:
        log = bench.get(f"/v3/logs/{each['sg_message_id']}")
        check_response(logs, "GET", "/v3/logs/{sg_message_id}", 200, log.json)
    activity = folder / "email_activity.openapi.json"
    check_response(activity, "GET", "/v3/messages", 200, bench.get("/v3/messages").json)
    for name in every:
        entry = bench.get(f"/v3/suppression/{name}/{ADA}").json
        assert len(entry) == 1
        path = f"/v3/suppression/{name}/{{email}}"
        check_response(folder / "suppressions.openapi.json", "GET", path, 200, entry)


def test_a_seed_or_a_move_that_cannot_be_read_says_what_is_wrong(bench: Bench) -> None:
    with pytest.raises(ValueError, match="no list 'friends'"):
        bench.seed(suppressions=[{"list": "friends", "email": ADA}])
    with pytest.raises(ValueError, match="subject"):
        bench.seed(inbound=[{"to": "a@b.example", "from": ADA, "text": "x"}])
    with pytest.raises(ValueError, match="unknown encoding"):
        bench.seed(inbound=[{**LETTER, "charsets": {"text": "x-strange"}}])
    with pytest.raises(ValueError, match="subject"):
        bench.world.settle("sendgrid", {"inbound": {"to": "a@b.example", "from": ADA, "text": "x"}})
    with pytest.raises(ValueError, match="sendgrid settles"):
        bench.world.settle("sendgrid", {"message": "x", "event": "accepted"})
    with pytest.raises(NoSuchObjectError):
        bench.world.settle("sendgrid", {"message": "x", "event": "delivered"})
    with pytest.raises(NoSuchObjectError):
        bench.world.settle("sendgrid", {"message": bench.sent(), "event": "group_unsubscribe"})


def test_a_reset_forgets_everything(bench: Bench) -> None:
    bench.seed(verified=["shop.example"], activity=True)
    bench.sent()
    bench.world.reset()

    assert bench.book() == []
    assert bench.logs("") == []
    assert bench.send({"from": {"email": "orders@shop.example"}}).status_code == 403
