"""Magento against its published schema: every call that we make fits it, and so does every answer that we read.

The calls are made against the practice shop, so that the answers have all their parts; both sides are held against the schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Polled
from refundflow.connectors.magento import (
    SPEC,
    VALIDATION,
    Credentials,
    Magento,
    build,
    error_text,
    read_failure,
    read_memo_id,
)
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef, PaymentFacts, TakesBack
from refundflow.domain.ids import StepKey
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import magento as practice
from refundflow.sandbox.base import Fault, World
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response
from tests.support.fake_http import answer
from tests.support.specs import check_document, check_request, check_response, load, specs
from tests.support.world_http import VENDORS, WorldWire

STEP = StepKey("RF-00K3ZQ4M7ABCDEF.refund.1")
LINES = (LineQuantity("31", 2), LineQuantity("32", 1))
REFUND = Refund(
    step_key=STEP,
    key=f"refundflow:{STEP}:1",
    order_id="7",
    order_number="000000123",
    payment_reference="1",
    gateway="braintree",
    amount=Money(4250, "EUR"),
    lines=LINES,
    takes_out=True,
    restock=True,
    is_whole=True,
)
RECORD = RecordOrderRefund(
    step_key=STEP,
    key=REFUND.key,
    order_id="7",
    order_number="000000123",
    amount=REFUND.amount,
    refund_references="re_1",
    lines=LINES,
    takes_out=True,
    restock=True,
    is_whole=True,
)
CANCEL = CancelOrder(step_key=STEP, key="k", order_id="7", reason="customer", restock=True)


@pytest.fixture
def api() -> Path:
    return specs("magento") / "admin-2.4.9.swagger.json"


def template_of(request: Request) -> str:
    """The described path that a call of ours is one of."""
    path = request.path.removeprefix("/rest")
    name = {"invoice": "{invoiceId}", "order": "{orderId}"}.get(path.split("/")[2], "{id}")
    return re.sub(r"/\d+(?=/|$)", f"/{name}", path)


@dataclass
class Held:
    """An `Http` that holds both sides of every call against the schema."""

    http: Http
    api: Path
    seen: list[str] = field(default_factory=list)

    def send(self, request: Request) -> Response:
        template = template_of(request)
        # The schema shows one filter and one order of sorting, and stands for any number of them.
        params = [(re.sub(r"\[\d+\]", "[0]", name), value) for name, value in request.params]
        check_request(self.api, request.method, template, replace(request, params=params))
        response = self.http.send(request)
        told = response.json
        if response.status >= 400 and isinstance(told, dict):
            # Described as a list of objects; what is sent is a list of texts, or one object.
            told = {name: value for name, value in told.items() if name != "parameters"}
        check_response(self.api, request.method, template, response.status, told)
        self.seen.append(f"{request.method} {template}")
        return response


class Shop:
    def __init__(self, api: Path, **order: Any) -> None:
        self.world = World([practice.Magento], clock=lambda: datetime.now(UTC))
        lines = [
            {"id": 31, "sku": "MUG", "quantity": 2, "unit_minor": 1500},
            {"id": 32, "sku": "TEA", "quantity": 1, "unit_minor": 750},
        ]
        order = {"id": 7, "number": "000000123", "lines": lines, "shipping_minor": 500, **order}
        settings = {"base_url": f"{VENDORS}/magento"}
        self.world.seed({"magento": {"settings": settings, "orders": [order]}})
        credentials = Credentials(
            base_url=f"{VENDORS}/magento",
            access_token=Secret(practice.ACCESS_TOKEN),
            consumer_key=practice.CONSUMER_KEY,
            consumer_secret=Secret(practice.CONSUMER_SECRET),
            access_token_secret=Secret(practice.ACCESS_TOKEN_SECRET),
        )
        built = build(credentials, WorldWire(self.world))
        self.held = Held(built.http, api)
        self.connector: Magento = replace(built, http=self.held)

    def fault(self, operation: str, **fault: Any) -> None:
        self.world.faults.add(Fault.read({"vendor": "magento", "operation": operation, **fault}))


def test_the_version_that_is_told_is_the_one_described(api: Path) -> None:
    assert SPEC.api_version in api.name


def test_every_declared_call_is_described(api: Path) -> None:
    paths = load(api)["paths"]
    calls = [o.call.split() for c, o in SPEC.operations.items() if c is not Capability.INBOUND]
    assert [c for c in calls if c[0].lower() not in paths.get(c[1], {})] == []


def test_reads(api: Path) -> None:
    shop = Shop(api)
    connector = shop.connector
    assert connector.check().is_ok
    order = connector.read_order(OrderRef("magento", number="000000123"))
    assert isinstance(order, OrderFacts)
    assert (order.cancels, order.total) == (TakesBack.REFUND, Money(4250, "EUR"))
    assert connector.quote_lines(order, LINES) == Money(3750, "EUR")
    assert isinstance(connector.read_payment("", "1"), PaymentFacts)
    assert isinstance(connector.read_payment("7", "1"), PaymentFacts)
    assert set(shop.held.seen) == {
        "GET /V1/orders",
        "GET /V1/orders/{id}",
        "GET /V1/invoices",
        "GET /V1/invoices/{id}",
        "GET /V1/creditmemos",
    }


def test_a_cancel(api: Path) -> None:
    shop = Shop(api, payments=[{"is_captured": False}])
    assert isinstance(shop.connector.read_payment("7", "order:7"), PaymentFacts)
    assert isinstance(shop.connector.cancel_order(CANCEL), Done)
    assert isinstance(shop.connector.find_cancel_order(CANCEL), Done)
    assert "POST /V1/orders/{id}/cancel" in shop.held.seen
    assert "POST /V1/orders/{id}/comments" in shop.held.seen


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("whole", {}),
        ("without stock", {"restock": False}),
        ("a unit", {"lines": (LineQuantity("31", 1),), "is_whole": False, "amount": Money(1500, "EUR")}),
        (
            "less than a unit",
            {"lines": (LineQuantity("31", 1),), "is_whole": False, "amount": Money(999, "EUR")},
        ),
        ("money alone", {"lines": (), "takes_out": False, "is_whole": False, "amount": Money(1, "EUR")}),
    ],
)
@pytest.mark.parametrize("is_online", [True, False])
def test_credit_memos(api: Path, _case: str, changes: dict[str, Any], is_online: bool) -> None:
    shop = Shop(api)
    connector = shop.connector
    do: Callable[[], Any]
    find: Callable[[], Any]
    if is_online:
        refund = replace(REFUND, **changes)
        do, find = lambda: connector.refund(refund), lambda: connector.find_refund(refund)
        call = "POST /V1/invoice/{invoiceId}/refund"
    else:
        record = replace(RECORD, **changes)
        do = lambda: connector.record_order_refund(record)  # noqa: E731 (one of two)
        find = lambda: connector.find_record_order_refund(record)  # noqa: E731 (the other)
        call = "POST /V1/order/{orderId}/refund"
    assert isinstance(find(), NotFound)
    done = do()
    assert isinstance(done, Done)
    assert find() == done
    assert shop.held.seen.count(call) == 1
    assert "GET /V1/creditmemo/{id}" in shop.held.seen
    if changes.get("takes_out", True):
        step = StepKey("RF-00K3ZQ4M7ABCDEF.restock.1")
        lines = changes.get("lines", LINES)
        proof = Restock(step_key=step, key="k", order_id="7", currency="EUR", lines=lines, carried_by=STEP)
        assert isinstance(connector.restock(proof), Done)


def test_refusals_are_read_as_described(api: Path) -> None:
    shop = Shop(api)
    shop.fault("refund_invoice", kind="refuse", code="invalid_quantity")
    said = shop.connector.refund(REFUND)
    assert isinstance(said, Permanent)
    assert said.code == "validation"
    shop.fault("refund_invoice", kind="refuse", code="could_not_refund")
    assert isinstance(shop.connector.refund(REFUND), Unknown)
    assert isinstance(shop.connector.read_order(OrderRef("magento", "8")), NotFound)
    shop.fault("list_orders", kind="refuse_auth")
    assert not shop.connector.check().is_ok


def test_a_look_for_changes(api: Path) -> None:
    shop = Shop(api, state="closed")
    found = shop.connector.poll("", datetime.now(UTC))
    assert isinstance(found, Polled)
    assert len(found.events) == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            {
                "message": "The consumer isn't authorized to access %resources.",
                "parameters": [{"resources": "x"}],
            },
            "The consumer isn't authorized to access x.",
        ),
        ({"message": f"{VALIDATION}:\nno", "trace": "#0"}, f"{VALIDATION}: no"),
    ],
)
def test_errors_are_read_as_described(api: Path, error: Any, text: str) -> None:
    check_document(api, error, "/definitions/error-response")
    assert error_text(error) == text
    assert isinstance(read_failure(answer(401, error)), Retryable)
    assert isinstance(read_memo_id(answer(500, error)), Unknown)
