"""Trello against its published description: what we send, and the answers that our readers are tested on.

The description puts every field of a card into the query; a JSON body has the same names and is what we send, so a body is held
against the query's parameters. It leaves out what the guides say for lists of cards and of actions: `fields`, `limit`, `before`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.trello import STATES, Credentials, Trello, build_inbound
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import Irrelevant, OperatorWord
from refundflow.domain.outcomes import Done, NotFound
from refundflow.settings import Secret
from refundflow.transport.base import Request
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

OPENED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CASE = mint_case_id(OPENED, 77)
STEP = mint_step_key(CASE, "notify", 1)
BOARD, INBOX, APPROVED, REJECTED, ADA = (f"5f00000000000000000000{n}" for n in ("b0", "a1", "a4", "a5", "d2"))
CARD_ID = f"{int(OPENED.timestamp()) + 5:08x}0000000000000001"
TWIN_ID = f"{int(OPENED.timestamp()) + 9:08x}0000000000000002"
URL = "https://trello.com/c/abcd1234"
COMMAND = KeepRecord(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    title="Order 1001 cancelled",
    state="held",
    text="Refund 42.50 EUR pending",
    fields=(("Order", "1001"),),
    version=2,
)


def description() -> Path:
    return specs("trello") / "trello.openapi.json"


def card(version: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "id": CARD_ID,
        "name": f"[{CASE}] Order 1001 cancelled",
        "desc": f"Refund 42.50 EUR pending\n\nref: {CASE} v{version}",
        "idList": INBOX,
        "idBoard": BOARD,
        "closed": False,
        "shortUrl": URL,
        "idShort": 7,
        "dueComplete": False,
        "dateLastActivity": "2026-11-23T09:00:05.000Z",
        **changes,
    }


def lists() -> list[dict[str, Any]]:
    return [{"id": INBOX, "name": "Cancellations", "closed": False}]


def trello(vendor: FakeHttp) -> Trello:
    return Trello(vendor, BOARD, INBOX, {})


def check_sent(method: str, path: str, request: Request, *, beside: Collection[str] = ()) -> None:
    """Body and query as one. `beside`: the parameters that only the guides describe."""
    body = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (request.json or {}).items()
    }
    assert set(beside) <= {name for name, _ in request.params}
    params = [(name, value) for name, value in request.params if name not in beside]
    flat = replace(request, json=None, params=(*params, *body.items()))
    check_request(description(), method, path, flat)


def check_card(value: Any) -> None:
    check_response(description(), "GET", "/cards/{id}", 200, value)


@pytest.mark.parametrize("state", STATES)
def test_a_creation_is_what_the_description_allows(state: str) -> None:
    made = {**card(), "attachments": [], "stickers": []}
    check_response(description(), "POST", "/cards", 200, made)
    check_response(description(), "GET", "/boards/{id}/lists", 200, lists())
    vendor = FakeHttp(answer(200, []), answer(200, lists()), answer(200, made))
    assert trello(vendor).keep_record(replace(COMMAND, state=state)) == Done(CARD_ID, URL)
    look, placed, created = vendor.requests
    check_sent("GET", "/boards/{id}/cards/{filter}", look, beside=("fields", "limit"))
    check_sent("GET", "/boards/{id}/lists", placed)
    check_sent("POST", "/cards", created)


def test_an_update_is_what_the_description_allows() -> None:
    before = card(1, idList=APPROVED)
    check_card(before)
    check_response(description(), "PUT", "/cards/{id}", 200, card())
    vendor = FakeHttp(answer(200, before), answer(200, lists()), answer(200, card()))
    assert trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID)) == Done(CARD_ID, URL)
    read, _, written = vendor.requests
    check_sent("GET", "/cards/{id}", read)
    check_sent("PUT", "/cards/{id}", written)
    assert set(written.json) == {"name", "desc", "dueComplete", "idList", "pos"}


def test_what_a_look_asks_of_a_card_are_fields_of_a_card() -> None:
    properties = load(description())["components"]["schemas"]["Card"]["properties"]
    vendor = FakeHttp(answer(503))
    trello(vendor).find_keep_record(replace(COMMAND, record_id=CARD_ID))
    assert set(dict(vendor.sent.params)["fields"].split(",")) <= set(properties)


def test_a_look_asks_and_reads_as_described() -> None:
    for version, found in ((2, Done(CARD_ID, URL)), (1, NotFound(60.0, f"the card {URL} shows version 1"))):
        check_card(card(version))
        vendor = FakeHttp(answer(200, [card(version)]), answer(200, []))
        assert trello(vendor).find_keep_record(COMMAND) == found
        first, second = vendor.requests
        check_sent("GET", "/boards/{id}/cards/{filter}", first, beside=("fields", "limit"))
        check_sent("GET", "/boards/{id}/cards/{filter}", second, beside=("fields", "limit", "before"))


def test_a_second_card_is_asked_about_and_archived_as_described() -> None:
    twin = card(id=TWIN_ID)
    actions = [{"id": "6565f0000000000000000001", "type": "createCard", "idMemberCreator": ADA, "data": {}}]
    check_response(description(), "GET", "/cards/{id}/actions", 200, actions)
    check_response(description(), "PUT", "/cards/{id}", 200, {**twin, "closed": True})
    vendor = FakeHttp(
        answer(200, [card(1), twin]),
        answer(200, []),
        answer(200, actions),
        answer(200, actions),
        answer(200, {**twin, "closed": True}),
        answer(200, card()),
    )
    assert trello(vendor).keep_record(COMMAND) == Done(CARD_ID, URL)
    for asked in vendor.requests[2:4]:
        check_sent("GET", "/cards/{id}/actions", asked)
    check_sent("PUT", "/cards/{id}", vendor.requests[4])


def test_the_check_asks_and_reads_as_described() -> None:
    check_response(description(), "GET", "/boards/{id}/lists", 200, lists())
    vendor = FakeHttp(answer(200, lists()))
    assert trello(vendor).check().is_ok
    check_sent("GET", "/boards/{id}/lists", vendor.sent)


def test_events_are_read_as_described() -> None:
    schema = specs("trello") / "webhook.request.schema.json"
    inbound = build_inbound(
        Credentials(
            "key",
            Secret("token"),
            BOARD,
            INBOX,
            approved_list_id=APPROVED,
            rejected_list_id=REJECTED,
            members=ADA,
        )
    )
    for place, is_approved in ((APPROVED, True), (REJECTED, False)):
        event = {
            "action": {
                "id": "6565f0000000000000000001",
                "type": "updateCard",
                "date": "2026-11-25T11:59:00.000Z",
                "idMemberCreator": ADA,
                "memberCreator": {"id": ADA, "username": "ada"},
                "data": {
                    "card": {"id": CARD_ID, "name": f"[{CASE}] Order 1001 cancelled", "idShort": 7},
                    "board": {"id": BOARD, "name": "Cancellations"},
                    "listBefore": {"id": INBOX, "name": "Cancellations"},
                    "listAfter": {"id": place, "name": "Decided"},
                    "old": {"idList": INBOX},
                },
            },
            "model": {"id": BOARD},
        }
        check_document(schema, event)
        assert inbound.read_event("updateCard", json.dumps(event).encode()) == OperatorWord(
            "trello", CASE, is_approved, ADA, "the card was moved to Decided"
        )
    comment = {
        "action": {"id": "6565f0000000000000000002", "type": "commentCard", "data": {"text": "called her"}},
        "model": {"id": BOARD},
    }
    check_document(schema, comment)
    assert inbound.read_event("commentCard", json.dumps(comment).encode()) == Irrelevant(
        "commentCard asks nothing of us"
    )
