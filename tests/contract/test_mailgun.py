"""Mailgun against the vendor's published description: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from refundflow.connectors.mailgun import Mailgun
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.outcomes import Done, NotFound, Permanent
from refundflow.transport.base import Request
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
        ([event("rejected", reject={"reason": "no"})], Permanent("rejected", "Mailgun did not take the message: no")),
        ([], NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)),
    ):  # fmt: skip
        full = {"items": events, "paging": {"next": next_url, "previous": next_url}}
        check_response(spec, "GET", EVENTS, 200, full)
        vendor = FakeHttp(answer(200, full), always=answer(200, {"items": [], "paging": {"next": next_url}}))
        assert Mailgun(vendor, DOMAIN, "a@b.example").find_send_message(COMMAND) == outcome
        check_request(spec, "GET", EVENTS, vendor.requests[0])
    # The same shape comes by webhook.
    schema = specs("mailgun") / "event_webhook.request.schema.json"
    check_document(schema, event("delivered"), "/properties/event-data")


def test_the_check_asks_as_described() -> None:
    vendor = FakeHttp(answer(200, {"items": [], "paging": {}}))
    assert Mailgun(vendor, DOMAIN, "a@b.example").check().is_ok
    check_request(description(), "GET", EVENTS, vendor.sent)
