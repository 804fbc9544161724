"""Zendesk against the published descriptions: what we send, and the answers that our readers are tested on.

The vendor's file leaves out some of what its pages tell: `metadata` and `requester` among the properties of a request (they are
among a ticket's), the body of the tag calls, and the pages of audits; for a request's `custom_fields` it names the definition of
a field. These are taken off before a request is checked, and looked at as parts of a ticket.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.zendesk import Desk, Zendesk, ZendeskInbound
from refundflow.domain.commands import CommentTicket
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, MalformedError, Verified
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound
from refundflow.flow.compose import Composer, sample_contexts
from refundflow.settings import Secret
from refundflow.transport.base import Request, Response
from refundflow.transport.signatures import sign_base64
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

CASE = "RF-01JQZ7K3M0ABCDE"
STEP = StepKey(f"{CASE}.notify.1")
DESK = Desk("refunds@shop.example", "901", "360000000101")
STAMP = "2026-11-25T11:59:58Z"
TICKETS = "/api/v2/tickets"
TICKET = "/api/v2/tickets/{ticket_id}"
#: Told on the vendor's pages, and not among the properties of a request in its file.
PAGES_ONLY = {"metadata", "requester", "custom_fields"}


def command(**changes: Any) -> CommentTicket:
    """The report as it is really written."""
    report = Composer().compose("case_report", "email", sample_contexts("case_report")[0])
    made = CommentTicket(
        step_key=STEP,
        key=wire_key(STEP, 1),
        case_id=CASE,
        order_number="1001",
        template="case_report",
        subject=report.subject,
        text=report.text,
        html=report.html or "",
        requester_email="ada@customers.example",
        requester_name="Ada Buyer",
        tags=("refundflow",),
        status="solved",
    )
    return replace(made, **changes)


def description() -> Path:
    return specs("zendesk") / "support.openapi.json"


def ticket(**changes: Any) -> dict[str, Any]:
    known = {"id": 4001, "url": "https://shop.zendesk.com/api/v2/tickets/4001.json", "external_id": CASE, "subject": "Order 1001",
             "status": "open", "tags": ["refundflow"], "requester_id": 77, "submitter_id": 901, "is_public": True,
             "created_at": STAMP, "updated_at": STAMP, "custom_fields": [{"id": 360000000101, "value": "1001"}]}  # fmt: skip
    return {**known, **changes}


def audit(op: str) -> dict[str, Any]:
    return {"id": 9001, "ticket_id": 4001, "created_at": STAMP, "author_id": 901, "events": [{"id": 1, "type": "Comment", "body": "x"}],
            "metadata": {"system": {"client": "x"}, "custom": {"refundflow_op": op}}, "via": {"channel": "api"}}  # fmt: skip


def described(method: str, template: str, status: int, body: Any) -> Response:
    """The answer, once the description allows it."""
    check_response(description(), method, template, status, body)
    return answer(status, body)


def listed(*tickets: dict[str, Any]) -> Response:
    return described("GET", TICKETS, 200, {"tickets": list(tickets)})


def audits(*ops: str) -> Response:
    page = {"audits": [audit(op) for op in ops], "count": len(ops), "next_page": None, "previous_page": None}
    return described("GET", f"{TICKET}/audits", 200, page)


def check_write(method: str, template: str, request: Request) -> None:
    """The request as the file describes it, and what only the pages tell as the file describes it of a ticket."""
    sent = request.json["ticket"]
    known = {name: value for name, value in sent.items() if name not in PAGES_ONLY}
    check_request(description(), method, template, replace(request, json={"ticket": known}))
    for name in sent.keys() & PAGES_ONLY:
        check_document(description(), sent[name], f"/components/schemas/TicketObject/properties/{name}")


def test_a_comment_asks_and_reads_as_described() -> None:
    vendor = FakeHttp(
        described("GET", TICKET, 200, {"ticket": ticket(tags=[])}),
        described("PUT", f"{TICKET}/tags", 200, {"tags": ["refundflow"]}),
        described("GET", TICKET, 200, {"ticket": ticket()}),
        audits("RF-0.notify.1"),
        described("PUT", TICKET, 200, {"ticket": ticket(), "audit": audit(STEP)}),
    )
    assert Zendesk(vendor, DESK).comment_ticket(command(ticket_id="4001")) == Done("4001", "audit 9001")
    get, tags, _, look, update = vendor.requests
    check_request(description(), "GET", TICKET, get)
    check_request(description(), "PUT", f"{TICKET}/tags", replace(tags, json=None))
    check_request(description(), "GET", f"{TICKET}/audits", replace(look, params=()))
    check_write("PUT", TICKET, update)


def test_nobodys_ticket_is_taken_by_e_mail_as_described() -> None:
    vendor = FakeHttp(
        described("GET", TICKET, 200, {"ticket": ticket()}),
        audits(),
        described("PUT", TICKET, 200, {"ticket": ticket(), "audit": audit(STEP)}),
    )
    Zendesk(vendor, Desk("refunds@shop.example")).comment_ticket(command(ticket_id="4001"))
    assert "assignee_email" in vendor.requests[2].json["ticket"]
    check_write("PUT", TICKET, vendor.requests[2])


@pytest.mark.parametrize("status", ["", "open", "pending", "solved"])
def test_a_new_ticket_asks_and_reads_as_described(status: str) -> None:
    vendor = FakeHttp(listed(), described("POST", TICKETS, 201, {"ticket": ticket()}))
    assert Zendesk(vendor, DESK).comment_ticket(command(status=status)) == Done("4001", "a new ticket")
    look, create = vendor.requests
    check_request(description(), "GET", TICKETS, look)
    check_write("POST", TICKETS, create)


def test_a_follow_up_asks_and_reads_as_described() -> None:
    vendor = FakeHttp(
        described("GET", TICKET, 200, {"ticket": ticket(status="closed", followup_ids=[])}),
        listed(),
        described("POST", TICKETS, 201, {"ticket": ticket(id=4002)}),
    )
    made = Zendesk(vendor, DESK).comment_ticket(command(ticket_id="4001"))
    assert made == Done("4002", "follows the closed ticket 4001")
    check_write("POST", TICKETS, vendor.requests[2])


def test_a_look_asks_and_reads_as_described() -> None:
    for ops, found in (
        ((STEP,), Done("4001", "audit 9001")),
        (("x",), NotFound(60.0, "no audit of the case's tickets carries our reference", 30 * 24 * 3600.0)),
    ):
        vendor = FakeHttp(listed(ticket()), audits(*ops))
        assert Zendesk(vendor, DESK).find_comment_ticket(command()) == found
        check_request(description(), "GET", TICKETS, vendor.requests[0])
    vendor = FakeHttp(listed(ticket()), audits(STEP))
    assert Zendesk(vendor, DESK).comment_ticket(command()) == AlreadyDone("4001", "audit 9001")


def test_the_check_asks_and_reads_as_described() -> None:
    vendor = FakeHttp(listed())
    assert Zendesk(vendor, DESK).check().is_ok
    check_request(description(), "GET", TICKETS, vendor.sent)


def test_the_statuses_that_we_write_and_the_one_that_we_read_are_described() -> None:
    schemas = load(description())["components"]["schemas"]
    assert {"open", "pending", "solved"} <= set(schemas["TicketUpdateInput"]["properties"]["status"]["enum"])
    assert "closed" in schemas["TicketObject"]["properties"]["status"]["enum"]


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("tags_changed", {"tags_added": ["order_cancellation"], "tags_removed": []}),
        ("comment_added", {"comment": {"id": "1", "body": "x"}}),
    ],
)
def test_ticket_events_are_read_as_described(kind: str, event: dict[str, Any]) -> None:
    envelope: dict[str, Any] = {
        "type": f"zen:event-type:ticket.{kind}",
        "account_id": 12514403,
        "id": "ev-1",
        "time": STAMP,
        "zendesk_event_version": "2022-11-06",
        "subject": "zen:ticket:4001",
        "detail": {"id": "4001", "actor_id": "902", "status": "OPEN", "tags": ["order_cancellation"]},
        "event": {**event, "meta": {"sequence": {"id": "s-1", "position": 1}}},
    }
    check_document(specs("zendesk") / "webhook_event.schema.json", envelope)
    body = json.dumps(envelope).encode()
    inbound = ZendeskInbound(Secret("practice-secret"), "shopify", DESK)
    named = {"signature": sign_base64("practice-secret", STAMP.encode() + body), "signature-timestamp": STAMP}
    delivery = Delivery({f"x-zendesk-webhook-{name}": value for name, value in named.items()}, body)
    verified = inbound.verify(delivery, datetime(2026, 11, 25, 12, 0, tzinfo=UTC))
    assert verified == Verified("ev-1", envelope["type"])
    if kind == "tags_changed":
        with pytest.raises(MalformedError):
            inbound.read_event(verified.topic, body)
    else:
        assert isinstance(inbound.read_event(verified.topic, body), Irrelevant)
