"""Freshdesk against the described shapes: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.freshdesk import Freshdesk, FreshdeskInbound
from refundflow.domain.commands import CommentTicket
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import CancellationRequested
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable
from refundflow.settings import Secret
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, specs

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.tell_ticket.1")
COMMAND = CommentTicket(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    order_number="1042",
    template="order_cancelled",
    subject="Your order 1042 is cancelled",
    text="Your order 1042 is cancelled.",
    requester_email="ada@example.com",
    requester_name="Ada Lovelace",
    is_public=True,
    tags=("rf_cancelled",),
    status="solved",
)
TICKET: dict[str, Any] = {
    "id": 77,
    "subject": "Please cancel",
    "status": 2,
    "priority": 2,
    "source": 2,
    "type": None,
    "requester_id": 9,
    "responder_id": None,
    "group_id": None,
    "company_id": None,
    "to_emails": None,
    "cc_emails": [],
    "tags": ["vip"],
    "custom_fields": {"cf_order_ref": "1042", "cf_rf_case": CASE},
    "spam": False,
    "created_at": "2026-11-25T11:58:00Z",
    "updated_at": "2026-11-25T11:59:00Z",
}
TOLD: dict[str, Any] = {
    "id": 501,
    "body": f"<p>Your order 1042 is cancelled.</p><p>Ref {STEP}</p>",
    "body_text": f"Your order 1042 is cancelled. Ref {STEP}",
    "user_id": 432,
    "ticket_id": 77,
    "created_at": "2026-11-25T12:00:00Z",
    "updated_at": "2026-11-25T12:00:00Z",
}
REPLY = {**TOLD, "from_email": "support@example.com", "replied_to": ["ada@example.com"], "cc_emails": []}
NOTE = {**TOLD, "incoming": False, "private": True, "source": 2, "support_email": None, "notified_to": []}
MESSAGE = {**TOLD, "incoming": False, "private": False, "source": 0, "to_emails": ["ada@example.com"]}
EMPTY: dict[str, Any] = {"total": 0, "results": []}


def schema(name: str) -> Path:
    return specs("freshdesk") / f"{name}.schema.json"


def desk(*answers: tuple[str, int, Any]) -> tuple[Freshdesk, FakeHttp]:
    """A desk that gives these answers, each of which is as described under the name beside it."""
    for name, _, body in answers:
        check_document(schema(f"{name}.response"), body)
    vendor = FakeHttp(*(answer(status, body) for _, status, body in answers))
    return Freshdesk(vendor, "cf_rf_case", "cf_order_ref", "cancellation_request", now=lambda: NOW), vendor


def check_sent(name: str, body: Any) -> None:
    """As described, and with described fields only."""
    check_document(schema(f"{name}.request"), body)
    described = json.loads(schema(f"{name}.request").read_text(encoding="utf-8"))["properties"]
    assert set(body) <= set(described)


def test_a_reply_on_a_ticket_is_sent_and_read_as_described() -> None:
    freshdesk, vendor = desk(
        ("get_ticket", 200, TICKET),
        ("list_conversations", 200, []),
        ("create_reply", 201, REPLY),
        ("get_ticket", 200, TICKET),
        ("update_ticket", 200, {**TICKET, "status": 4, "tags": ["vip", "rf_cancelled"]}),
    )
    said = freshdesk.comment_ticket(replace(COMMAND, ticket_id="77"))
    assert said == Done("77:501", "reply on ticket 77; mailed to 1")
    check_sent("create_reply", vendor.requests[2].json)
    check_sent("update_ticket", vendor.requests[4].json)


def test_a_note_is_sent_and_read_as_described() -> None:
    done = {**TICKET, "status": 4, "tags": ["rf_cancelled"]}
    freshdesk, vendor = desk(
        ("get_ticket", 200, done),
        ("list_conversations", 200, []),
        ("create_note", 201, NOTE),
        ("get_ticket", 200, done),
    )
    said = freshdesk.comment_ticket(replace(COMMAND, ticket_id="77", is_public=False))
    assert said == Done("77:501", "note on ticket 77")
    check_sent("create_note", vendor.requests[2].json)


def test_a_ticket_is_made_as_described() -> None:
    done = {**TICKET, "status": 4, "tags": ["rf_cancelled"]}
    freshdesk, vendor = desk(
        ("search_tickets", 200, EMPTY),
        ("list_tickets", 200, [{**TICKET, "id": 70, "custom_fields": {"cf_rf_case": None}}]),
        ("create_ticket", 201, {**TICKET, "description": "<p>…</p>"}),
        ("create_reply", 201, REPLY),
        ("get_ticket", 200, done),
    )
    assert isinstance(freshdesk.comment_ticket(COMMAND), Done)
    check_sent("create_ticket", vendor.requests[2].json)


def test_a_case_that_has_no_number_and_no_new_field_to_set_is_sent_as_described() -> None:
    freshdesk, vendor = desk(
        ("get_ticket", 200, {**TICKET, "custom_fields": {"cf_rf_case": None}}),
        ("list_conversations", 200, [MESSAGE]),
        ("update_ticket", 200, TICKET),
    )
    said = freshdesk.comment_ticket(replace(COMMAND, ticket_id="77", tags=(), status=""))
    assert isinstance(said, Done)
    check_sent("update_ticket", vendor.requests[2].json)


def test_a_look_reads_what_is_described() -> None:
    done = {**TICKET, "status": 4, "tags": ["rf_cancelled"]}
    found = {"total": 1, "results": [TICKET]}
    reading = (("search_tickets", 200, found), ("get_ticket", 200, done))
    freshdesk, _ = desk(*reading, ("list_conversations", 200, [MESSAGE]))
    assert freshdesk.find_comment_ticket(COMMAND) == Done("77:501", "reply on ticket 77; mailed to 1")
    freshdesk, _ = desk(
        *reading, ("list_conversations", 200, [{**MESSAGE, "body": "<p>Hello</p>", "body_text": "Hello"}])
    )
    assert freshdesk.find_comment_ticket(COMMAND) == NotFound(
        180.0, "no message of the ticket carries our reference"
    )
    freshdesk, _ = desk(*reading, ("list_conversations", 200, [MESSAGE]))
    assert isinstance(freshdesk.comment_ticket(COMMAND), AlreadyDone)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"description": "Validation failed", "errors": [{"field": "body", "message": "x", "code": "missing_field"}]},
         Permanent, "missing_field"),
        (400, {"description": "Validation failed", "errors": [{"message": "x", "code": "invalid_value"}]},
         Permanent, "invalid_value"),
        (400, {"code": "invalid_json", "message": "x"}, Permanent, "invalid_json"),
        (401, {"code": "invalid_credentials", "message": "x"}, Retryable, "unauthorised"),
        (403, {"code": "access_denied", "message": "x"}, Retryable, "unauthorised"),
        (405, {"message": "GET method is allowed"}, Permanent, "not_allowed"),
        (409, {"code": "inconsistent_state", "message": "x"}, Permanent, "inconsistent_state"),
        (429, {"message": "x"}, Retryable, "throttled"),
    ],
)  # fmt: skip
def test_the_described_errors_are_read(
    status: int, body: Any, kind: type[Permanent | Retryable], code: str
) -> None:
    freshdesk, _ = desk(("get_ticket", 200, TICKET), ("list_conversations", 200, []), ("error", status, body))
    said = freshdesk.comment_ticket(replace(COMMAND, ticket_id="77"))
    assert isinstance(said, kind)
    assert said.code == code


def test_the_described_webhook_is_read_and_each_of_its_fields_is_known() -> None:
    described = json.loads(schema("inbound_webhook.request").read_text(encoding="utf-8"))["properties"]
    inbound = FreshdeskInbound(Secret("practice-token"), "shopify")
    body = {
        "source": "freshdesk",
        "event": "cancellation_requested",
        "ticket_id": "77",
        "ticket_status": "Open",
        "ticket_tags": "vip",
        "requester_email": "ada@example.com",
        "order_ref": "1042",
        "updated_at": "2026-11-25T11:59:00Z",
    }
    check_document(schema("inbound_webhook.request"), body)
    assert set(body) == set(described)
    assert isinstance(inbound.read_event("", json.dumps(body).encode()), CancellationRequested)
    # The body that the connector's own words tell people to type into the rule.
    words = " ".join((FreshdeskInbound.__doc__ or "").split())
    typed = json.loads(words[words.index('`{"source"') + 1 : words.index("}`") + 1])
    check_document(schema("inbound_webhook.request"), typed)
    assert set(typed) == set(described)
