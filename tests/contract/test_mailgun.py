"""Mailgun against the vendor's published description: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from refundflow.connectors.mailgun import STATUSES, Mailgun, MailgunInbound
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, MailReceived, MessageSeen, Verified
from refundflow.domain.outcomes import Done, NotFound, Permanent
from refundflow.settings import Secret
from refundflow.transport.base import Request
from refundflow.transport.signatures import sign_hex
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, specs

STEP = StepKey("RF-01JQZ7K3M0ABCDE.notify.1")
DOMAIN = "mg.shop.example"
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to="ada@example.com",
    template="order_cancelled",
    subject="Your order 1001 is cancelled",
    text="Your order 1001 is cancelled.",
    html="<p>Your order 1001 is cancelled.</p>",
)
MESSAGES = "/v3/{domain_name}/messages"
EVENTS = "/v3/{domain_name}/events"


def description() -> Path:
    return specs("mailgun") / "mailgun.openapi.json"


def event(name: str, **more: Any) -> dict[str, Any]:
    return {
        "event": name,
        "id": "czsjqFATSlC3QtAK-C80nw",
        "timestamp": 1795424405.25,
        "message": {
            "headers": {"message-id": f"refundflow.{STEP}.1@{DOMAIN}", "from": "orders@mg.shop.example"},
            "attachments": [],
            "size": 512,
        },
        "user-variables": {"rf_op": STEP, "rf_key": COMMAND.key},
        "tags": ["order_cancelled"],
        **more,
    }


def lists_in_brackets(request: Request) -> Request:
    """The description types `to` and `o:tag` as lists; on the wire a form repeats the bare name for each item."""
    listed = {"to", "o:tag"}
    form = tuple((f"{name}[]" if name in listed else name, value) for name, value in request.form or ())
    return replace(request, form=form)


def test_a_message_is_what_the_description_allows() -> None:
    spec = description()
    queued = {"id": "<20261123.1.AB@mg.shop.example>", "message": "Queued. Thank you."}
    check_response(spec, "POST", MESSAGES, 200, queued, declared_only=True)
    vendor = FakeHttp(answer(200, queued))
    assert Mailgun(vendor, DOMAIN, "Shop <orders@mg.shop.example>").send_message(COMMAND) == Done(
        "20261123.1.AB@mg.shop.example", "queued"
    )
    check_request(spec, "POST", MESSAGES, lists_in_brackets(vendor.sent))


def test_a_refusal_is_what_the_description_says() -> None:
    refused = {"message": "to parameter is not a valid address. please check documentation"}
    check_response(description(), "POST", MESSAGES, 400, refused, declared_only=True)
    outcome = Mailgun(FakeHttp(answer(400, refused)), DOMAIN, "a@b.example").send_message(COMMAND)
    assert outcome == Permanent("invalid_message", refused["message"])


def test_a_look_asks_and_reads_as_described() -> None:
    spec = description()
    next_url = f"https://api.mailgun.net/v3/{DOMAIN}/events/W3siYSI6MX1d"
    status = {"code": 550, "message": "5.1.1 no such user", "attempt-no": 1}
    for events, outcome in (
        ([event("accepted")], Done(f"refundflow.{STEP}.1@{DOMAIN}", "accepted")),
        ([event("delivered")], Done(f"refundflow.{STEP}.1@{DOMAIN}", "delivered")),
        (
            [event("failed", severity="permanent", **{"delivery-status": status})],
            Permanent("bounced", "the message cannot be delivered: 550 5.1.1 no such user"),
        ),
        (
            [event("failed", severity="permanent", reason="suppress-complaint", **{"delivery-status": status})],
            Permanent(
                "suppressed",
                "Mailgun sends nothing to this address: its owner called a message spam (the domain's list of complaints)",
            ),
        ),
        ([event("rejected", reject={"reason": "no"})], Permanent("rejected", "Mailgun did not take the message: no")),
        ([], NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)),
    ):  # fmt: skip
        full = {"items": events, "paging": {"next": next_url, "previous": next_url}}
        check_response(spec, "GET", EVENTS, 200, full)
        vendor = FakeHttp(answer(200, full), always=answer(200, {"items": [], "paging": {"next": next_url}}))
        assert Mailgun(vendor, DOMAIN, "a@b.example").find_send_message(COMMAND) == outcome
        check_request(spec, "GET", EVENTS, vendor.requests[0])


def test_the_check_asks_as_described() -> None:
    vendor = FakeHttp(answer(200, {"items": [], "paging": {}}))
    assert Mailgun(vendor, DOMAIN, "a@b.example").check().is_ok
    check_request(description(), "GET", EVENTS, vendor.sent)


NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
INBOUND = MailgunInbound(Secret("signing-key"), DOMAIN, "orders@mg.shop.example")


def signature() -> dict[str, str]:
    timestamp, token = str(int(NOW.timestamp())), "0123456789" * 5
    return {
        "timestamp": timestamp,
        "token": token,
        "signature": sign_hex("signing-key", f"{timestamp}{token}".encode()),
    }


def described_events() -> list[str]:
    schema = json.loads((specs("mailgun") / "event_webhook.request.schema.json").read_text(encoding="utf-8"))
    return sorted(schema["properties"]["event-data"]["properties"]["event"]["enum"])


@pytest.mark.parametrize("severity", ["permanent", "temporary"])
def test_every_described_event_is_verified_and_read(severity: str) -> None:
    for name in described_events():
        told = {"signature": signature(), "event-data": event(name, severity=severity)}
        check_document(specs("mailgun") / "event_webhook.request.schema.json", told)
        body = json.dumps(told).encode()
        verified = INBOUND.verify(Delivery({}, body), NOW)
        assert verified == Verified("0123456789" * 5, f"event.{name}")
        is_told = name in STATUSES and not (name == "failed" and severity == "temporary")
        assert isinstance(INBOUND.read_event(f"event.{name}", body), MessageSeen if is_told else Irrelevant)


def test_every_event_that_we_wait_for_is_described() -> None:
    assert set(STATUSES) <= set(described_events())


def test_a_mail_is_read_as_described() -> None:
    headers = [
        ["X-Mailgun-Spf", "Pass"],
        ["Received", "by mxa.mailgun.org"],
        ["From", "Ada <ada@example.com>"],
    ]
    form = {
        **signature(),
        "domain": DOMAIN,
        "recipient": "cancel@in.shop.example",
        "sender": "ada@example.com",
        "from": "Ada <ada@example.com>",
        "subject": "Cancel order 1001",
        "body-plain": "Please.\r\n\r\nAda",
        "stripped-text": "Please.",
        "stripped-signature": "Ada",
        "message-headers": json.dumps(headers),
        "Message-Id": "<1@example.com>",
        "message-url": "https://storage.api.mailgun.net/v3/domains/mg.shop.example/messages/x",
        "attachments": "[]",
    }
    check_document(specs("mailgun") / "inbound_route.request.schema.json", form)
    body = urlencode(form).encode()
    assert INBOUND.verify(Delivery({}, body), NOW) == Verified("0123456789" * 5, "route")
    assert INBOUND.read_event("route", body) == MailReceived(
        "1@example.com", "ada@example.com", "Cancel order 1001", "Please.", "Ada", is_authenticated=True
    )
