"""Square against its published description: what we send fits it, and so do the answers that our readers are tested on.

The newest published description is of 2025-08-20, a year older than the pinned version; what changed since was compared by hand.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Capability
from refundflow.connectors.square import (
    NOTE,
    REFUSALS,
    SPEC,
    Square,
    SquareInbound,
    dispute_state,
    refund_reason,
)
from refundflow.domain.facts import DisputeState, LineQuantity, OrderFacts, OrderRef, PaymentFacts
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Pending, Permanent
from refundflow.settings import Secret
from refundflow.transport.base import Response
from tests.support.commands import command_for
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CANCEL: Any = command_for(Capability.CANCEL_ORDER, {"order_id": "O1", "restock": False})
REFUND: Any = command_for(Capability.REFUND, {"payment_reference": "P1"})
VOID: Any = command_for(Capability.VOID_PAYMENT, {"payment_reference": "P1"})
RESTOCK: Any = command_for(
    Capability.RESTOCK, {"order_id": "O1", "lines": (LineQuantity("LI1", 2),), "location": "L1"}
)
AT = "2026-11-20T09:00:00Z"
TOTAL = {"amount": 4250, "currency": "EUR"}
ORDERS, UPDATE, SEARCH = "/v2/orders/{order_id}", "/v2/orders/{order_id}", "/v2/orders/search"
PAYMENT, RELEASE = "/v2/payments/{payment_id}", "/v2/payments/{payment_id}/cancel"
REFUNDS, ONE_REFUND = "/v2/refunds", "/v2/refunds/{refund_id}"
CHANGE, CHANGES = "/v2/inventory/changes/batch-create", "/v2/inventory/changes/batch-retrieve"
DISPUTES = "/v2/disputes"

ORDER: dict[str, Any] = {
    "id": "O1",
    "location_id": "L1",
    "reference_id": "1042",
    "version": 4,
    "state": "OPEN",
    "created_at": AT,
    "updated_at": AT,
    "total_money": TOTAL,
    "line_items": [
        {
            "uid": "LI1",
            "name": "Kettle",
            "quantity": "2",
            "catalog_object_id": "V1",
            "item_type": "ITEM",
            "total_money": TOTAL,
        }
    ],
    "fulfillments": [
        {
            "uid": "F1",
            "type": "SHIPMENT",
            "state": "PROPOSED",
            "line_item_application": "ENTRY_LIST",
            "entries": [{"uid": "E1", "line_item_uid": "LI1", "quantity": "2"}],
            "shipment_details": {
                "recipient": {"display_name": "Ada Lovelace", "email_address": "ada@shop.example"}
            },
        }
    ],
    "tenders": [
        {
            "id": "P1",
            "type": "CARD",
            "amount_money": TOTAL,
            "payment_id": "P1",
            "card_details": {"status": "CAPTURED"},
        }
    ],
}
FENCED = {**ORDER, "fulfillments": [{**ORDER["fulfillments"][0], "state": "CANCELED"}]}
PAID: dict[str, Any] = {
    "id": "P1",
    "status": "COMPLETED",
    "source_type": "CARD",
    "created_at": AT,
    "updated_at": AT,
    "amount_money": TOTAL,
    "total_money": TOTAL,
    "order_id": "O1",
    "location_id": "L1",
    "version_token": "x",
    "card_details": {"status": "CAPTURED", "card": {"card_brand": "VISA", "last_4": "5858"}},
}
BACK: dict[str, Any] = {
    "id": "P1_R1",
    "status": "PENDING",
    "location_id": "L1",
    "unlinked": False,
    "destination_type": "CARD",
    "amount_money": TOTAL,
    "payment_id": "P1",
    "order_id": "O2",
    "reason": refund_reason(REFUND),
    "created_at": AT,
    "updated_at": AT,
}
DISPUTE: dict[str, Any] = {
    "id": "D1",
    "amount_money": TOTAL,
    "reason": "NOT_RECEIVED",
    "state": "EVIDENCE_REQUIRED",
    "disputed_payment": {"payment_id": "P1"},
    "location_id": "L1",
}
MOVED: dict[str, Any] = {
    "type": "ADJUSTMENT",
    "adjustment": {
        "id": "A1",
        "reference_id": RESTOCK.step_key,
        "catalog_object_id": "V1",
        "catalog_object_type": "ITEM_VARIATION",
        "location_id": "L1",
        "from_state": "UNLINKED_RETURN",
        "to_state": "IN_STOCK",
        "quantity": "2",
        "occurred_at": AT,
        "created_at": AT,
    },
}


@pytest.fixture
def api() -> Path:
    return specs("square") / "square.openapi.json"


def square(*answers: Response) -> tuple[Square, FakeHttp]:
    http = FakeHttp(*answers)
    return Square(http, ("L1",), 120, lambda: NOW), http


def told(api: Path, method: str, path: str, json_value: Any) -> Response:
    """An answer that is as described, names included."""
    check_response(api, method, path, 200, json_value, declared_only=True)
    return answer(200, json_value)


def enum(api: Path, name: str) -> set[str]:
    return set(load(api)["components"]["schemas"][name]["enum"])


def test_every_declared_call_is_described(api: Path) -> None:
    paths = load(api)["paths"]
    calls = [o.call.split() for c, o in SPEC.operations.items() if c is not Capability.INBOUND]
    assert [c for c in calls if c[0].lower() not in paths.get(c[1], {})] == []


def test_there_is_no_call_that_cancels_an_order(api: Path) -> None:
    assert [p for p in load(api)["paths"] if p.startswith("/v2/orders") and p.endswith("cancel")] == []


def test_a_check_is_sent_as_described(api: Path) -> None:
    connector, http = square(told(api, "get", REFUNDS, {"refunds": [BACK]}))
    assert connector.check().is_ok
    check_request(api, "get", REFUNDS, http.sent)


def test_an_order_is_found_and_read_as_described(api: Path) -> None:
    connector, http = square(
        told(api, "post", SEARCH, {"orders": [ORDER], "cursor": "next"}),
        told(api, "post", SEARCH, {}),
        told(api, "get", ORDERS, {"order": ORDER}),
        told(api, "get", PAYMENT, {"payment": PAID}),
    )
    facts = connector.read_order(OrderRef("square", number="1042"))
    assert isinstance(facts, OrderFacts)
    assert (facts.order_id, facts.email, facts.total) == ("O1", "ada@shop.example", Money(4250, "EUR"))
    check_request(api, "post", SEARCH, http.requests[0])
    check_request(api, "post", SEARCH, http.requests[1])
    check_request(api, "get", ORDERS, http.requests[2])
    check_request(api, "get", PAYMENT, http.requests[3])


@pytest.mark.parametrize("is_paid", [True, False])
def test_a_cancel_is_sent_as_described(api: Path, is_paid: bool) -> None:
    before = ORDER if is_paid else {**ORDER, "tenders": []}
    after = {**FENCED, "metadata": {NOTE: CANCEL.step_key}, **({} if is_paid else {"state": "CANCELED"})}
    read = [told(api, "get", PAYMENT, {"payment": PAID})] if is_paid else []
    connector, http = square(
        told(api, "get", ORDERS, {"order": before}), *read, told(api, "put", UPDATE, {"order": after})
    )
    assert isinstance(connector.cancel_order(CANCEL), Done)
    sent = http.requests[-1]
    check_request(api, "put", UPDATE, sent)
    described = load(api)["components"]["schemas"]["UpdateOrderRequest"]["properties"]
    assert len(sent.json["idempotency_key"]) <= described["idempotency_key"]["maxLength"]
    # The description says it in words: names of metadata have 60 characters of this set, values 255.
    assert NOTE.replace("_", "").isalnum()
    assert len(NOTE) <= 60
    assert len(CANCEL.step_key) <= 255


@pytest.mark.parametrize("state", ["CANCELED", "PROPOSED", "COMPLETED", "FAILED", "RESERVED", "PREPARED"])
def test_every_published_state_of_a_fulfilment_is_looked_at(api: Path, state: str) -> None:
    assert enum(api, "FulfillmentState") == {
        *("CANCELED", "PROPOSED", "COMPLETED", "FAILED", "RESERVED", "PREPARED")
    }
    shown = {**ORDER, "fulfillments": [{**ORDER["fulfillments"][0], "state": state}]}
    connector, _ = square(
        told(api, "get", ORDERS, {"order": shown}), told(api, "get", PAYMENT, {"payment": PAID})
    )
    family = {"CANCELED": AlreadyDone, "COMPLETED": Permanent}.get(state, NotFound)
    assert isinstance(connector.find_cancel_order(CANCEL), family)


def test_a_refund_is_sent_and_found_as_described(api: Path) -> None:
    connector, http = square(
        told(api, "get", PAYMENT, {"payment": PAID}), told(api, "post", REFUNDS, {"refund": BACK})
    )
    assert connector.refund(REFUND) == Pending("P1_R1")
    check_request(api, "get", PAYMENT, http.requests[0])
    check_request(api, "post", REFUNDS, http.requests[1])
    assert len(http.requests[1].json["idempotency_key"].encode()) <= 45
    connector, http = square(
        told(api, "get", PAYMENT, {"payment": {**PAID, "refund_ids": ["P1_R1"], "refunded_money": TOTAL}}),
        told(api, "get", ONE_REFUND, {"refund": {**BACK, "status": "COMPLETED"}}),
    )
    assert connector.find_refund(REFUND) == Done("P1_R1")
    check_request(api, "get", ONE_REFUND, http.requests[1])


def test_a_payment_is_read_with_its_disputes_as_described(api: Path) -> None:
    connector, http = square(
        told(api, "get", PAYMENT, {"payment": PAID}),
        told(api, "get", DISPUTES, {"disputes": [DISPUTE], "cursor": "next"}),
        told(api, "get", DISPUTES, {}),
    )
    facts = connector.read_payment("", "P1")
    assert isinstance(facts, PaymentFacts)
    assert facts.dispute is DisputeState.OPEN
    check_request(api, "get", DISPUTES, http.requests[1])
    check_request(api, "get", DISPUTES, http.requests[2])


def test_every_published_state_of_a_dispute_is_known_by_name(api: Path) -> None:
    states = enum(api, "DisputeState")
    opens = {s for s in states if dispute_state(s) is DisputeState.OPEN}
    assert opens == {"EVIDENCE_REQUIRED", "PROCESSING"}


def test_a_release_is_sent_as_described(api: Path) -> None:
    released = {**PAID, "status": "CANCELED", "card_details": {"status": "VOIDED"}}
    connector, http = square(told(api, "post", RELEASE, {"payment": released}))
    assert connector.void_payment(VOID) == Done("P1")
    check_request(api, "post", RELEASE, http.sent)


def test_units_are_put_back_as_described(api: Path) -> None:
    connector, http = square(
        told(api, "get", ORDERS, {"order": ORDER}),
        told(api, "get", PAYMENT, {"payment": PAID}),
        told(api, "post", CHANGES, {}),
        told(api, "post", CHANGE, {"changes": [MOVED], "counts": []}),
    )
    assert isinstance(connector.restock(RESTOCK), Done)
    check_request(api, "post", CHANGES, http.requests[2])
    check_request(api, "post", CHANGE, http.requests[3])
    assert len(http.requests[3].json["idempotency_key"].encode()) <= 128
    connector, http = square(
        told(api, "get", ORDERS, {"order": ORDER}),
        told(api, "get", PAYMENT, {"payment": PAID}),
        told(api, "post", CHANGES, {"changes": [MOVED], "cursor": "next"}),
        told(api, "post", CHANGES, {}),
    )
    assert isinstance(connector.find_restock(RESTOCK), Done)
    check_request(api, "post", CHANGES, http.requests[3])


def test_the_states_that_stock_moves_between_are_published(api: Path) -> None:
    assert {"UNLINKED_RETURN", "IN_STOCK"} <= enum(api, "InventoryState")


def test_every_refusal_that_means_more_than_no_is_a_published_code(api: Path) -> None:
    # Left out of the list of codes, and named with the calls that answer it.
    named = {e["error-code"] for e in load(api)["paths"][REFUNDS]["post"]["x-endpoint-errors"]}
    assert set(REFUSALS) - enum(api, "ErrorCode") == {"VERSION_MISMATCH"}
    assert "VERSION_MISMATCH" in named


@pytest.mark.parametrize("code", [*sorted({*REFUSALS} - {"VERSION_MISMATCH"}), "PAYMENT_NOT_REFUNDABLE"])
def test_refusals_are_shaped_as_described(api: Path, code: str) -> None:
    refused = {"errors": [{"category": "REFUND_ERROR", "code": code, "detail": "no", "field": "x"}]}
    check_document(api, refused["errors"][0], "/components/schemas/Error")
    check_response(api, "post", REFUNDS, 200, refused, declared_only=True)
    connector, _ = square(answer(200, {"payment": PAID}), answer(400, refused))
    assert not isinstance(connector.refund(REFUND), Done | Pending)


class TestEvents:
    INBOUND = SquareInbound(Secret("practice"), "https://shop.example/hooks/square")

    @pytest.mark.parametrize(
        ("topic", "schema", "name", "value", "family"),
        [
            ("refund.created", "RefundCreatedEvent", "refund", BACK, RefundSeen),
            ("refund.updated", "RefundUpdatedEvent", "refund", BACK, RefundSeen),
            (
                "payment.updated",
                "PaymentUpdatedEvent",
                "payment",
                {**PAID, "refund_ids": ["P1_R1"]},
                PaymentRefundsChanged,
            ),
            ("dispute.created", "DisputeCreatedEvent", "dispute", DISPUTE, DisputeSeen),
            ("dispute.state.updated", "DisputeStateUpdatedEvent", "dispute", DISPUTE, DisputeSeen),
            (
                "order.updated",
                "OrderUpdatedEvent",
                "order_updated",
                {"order_id": "O1", "state": "CANCELED", "version": 5, "location_id": "L1"},
                OrderCancelledElsewhere,
            ),
            (
                "order.fulfillment.updated",
                "OrderFulfillmentUpdatedEvent",
                "order_fulfillment_updated",
                {
                    "order_id": "O1",
                    "state": "OPEN",
                    "fulfillment_update": [
                        {"fulfillment_uid": "F1", "old_state": "PROPOSED", "new_state": "CANCELED"}
                    ],
                },
                Irrelevant,
            ),
        ],
    )
    def test_events_are_read_as_described(
        self, api: Path, topic: str, schema: str, name: str, value: Any, family: type
    ) -> None:
        event = {
            "merchant_id": "M1",
            "type": topic,
            "event_id": "e1",
            "created_at": AT,
            "data": {"type": name, "id": "x", "object": {name: value}},
        }
        check_document(api, event, f"/components/schemas/{schema}")
        assert isinstance(self.INBOUND.read_event(topic, json.dumps(event).encode()), family)


class TestPublishedSignatures:
    @pytest.fixture
    def vectors(self) -> list[dict[str, Any]]:
        loaded: list[dict[str, Any]] = load(specs("square") / "webhook_signature_vectors.json")["vectors"]
        return loaded

    def test_the_vectors_verify_or_fail_as_published(self, vectors: list[dict[str, Any]]) -> None:
        assert {vector["valid"] for vector in vectors} == {True, False}
        for vector in vectors:
            inbound = SquareInbound(Secret(vector["signature_key"]), vector["notification_url"])
            headers = {"x-square-hmacsha256-signature": vector["signature"]}
            said = inbound.verify(Delivery(headers, vector["body"].encode()), NOW)
            body = json.loads(vector["body"])
            if vector["valid"] and "event_id" in body:
                assert said == Verified(body["event_id"], body["type"])
            elif vector["valid"]:
                # The signature holds; what it is about is no event that could be kept apart from others.
                assert said == Refused("the body is no event")
            else:
                assert said == Refused("the signature does not match")

    def test_an_empty_key_and_a_changed_body_are_refused(self, vectors: list[dict[str, Any]]) -> None:
        vector = vectors[0]
        headers = {"x-square-hmacsha256-signature": vector["signature"]}
        whole = Delivery(headers, vector["body"].encode())
        assert isinstance(SquareInbound(Secret(""), vector["notification_url"]).verify(whole, NOW), Refused)
        inbound = SquareInbound(Secret(vector["signature_key"]), vector["notification_url"])
        assert isinstance(inbound.verify(replace(whole, body=whole.body + b" "), NOW), Refused)
