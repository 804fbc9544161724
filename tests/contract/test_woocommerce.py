"""WooCommerce against its description (written by hand from its documentation: it publishes none that machines read): what
we send fits it, and so do the answers that our readers are tested on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Polled
from refundflow.connectors.woocommerce import WooCommerce, WooCommerceInbound, read_refund_record
from refundflow.domain.commands import RecordOrderRefund, Refund
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef
from refundflow.domain.inbound import Delivery, OrderCancelledElsewhere, Refused, Verified
from refundflow.domain.outcomes import Done, Permanent, Unknown
from refundflow.settings import Secret
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, load, specs
from tests.unit.connectors.test_woocommerce import (
    CANCEL,
    CANCEL_STEP,
    RECORD,
    RECORD_STEP,
    REFUND,
    STEP,
    book,
    error,
    line,
    listed,
    order,
    ours,
    refund,
)

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LINES = (LineQuantity("315", 2), LineQuantity("316", 3))


@pytest.fixture
def folder() -> Path:
    return specs("woocommerce")


@pytest.mark.parametrize("restock", [True, False])
def test_a_cancel_is_sent_as_described(folder: Path, restock: bool) -> None:
    http = FakeHttp(answer(200, order()), answer(200, order(status="cancelled")))
    WooCommerce(http).cancel_order(replace(CANCEL, restock=restock))
    check_document(folder / "order-update.request.schema.json", http.requests[1].json)


@pytest.mark.parametrize(
    "command",
    [
        REFUND,
        replace(REFUND, lines=LINES, is_whole=True),
        replace(REFUND, lines=LINES, takes_out=True, restock=True),
        replace(REFUND, lines=LINES, is_whole=True, takes_out=True, restock=True),
    ],
)
def test_a_refund_is_sent_as_described(folder: Path, command: Refund) -> None:
    http = FakeHttp(*book(), answer(500, ""))
    WooCommerce(http).refund(command)
    check_document(folder / "refund-create.request.schema.json", http.requests[2].json)


@pytest.mark.parametrize(
    "command",
    [
        RECORD,
        replace(RECORD, refund_references="re_1, re_2"),
        replace(RECORD, lines=LINES, takes_out=True, restock=True, is_whole=True),
    ],
)
def test_a_record_is_sent_as_described(folder: Path, command: RecordOrderRefund) -> None:
    http = FakeHttp(*book(), answer(500, ""))
    WooCommerce(http).record_order_refund(command)
    check_document(folder / "refund-create.request.schema.json", http.requests[2].json)
    assert http.requests[2].json["api_refund"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": "cancelled", "meta_data": ours(CANCEL_STEP)},
        {"date_paid_gmt": None, "transaction_id": ""},
        {"line_items": [line(315, 2, "30.00", "5.70", reduced=2)]},
        {"refunds": [{"id": 901, "reason": None, "total": "-1.00"}]},
        {"line_items": [line(315, 2, "30.00", "5.70") | {"sku": None}]},
    ],
)
def test_the_orders_that_the_reader_is_tested_on_are_orders(folder: Path, changes: dict[str, Any]) -> None:
    told = order(**changes)
    check_document(folder / "order.response.schema.json", told)
    check_document(folder / "webhook.order.updated.schema.json", told)
    made = [refund(r["id"], "1.00") for r in told["refunds"]]
    http = FakeHttp(answer(200, told), listed(*made))
    assert isinstance(WooCommerce(http).read_order(OrderRef("woocommerce", "723")), OrderFacts)


@pytest.mark.parametrize(
    "told",
    [
        refund(step=STEP),
        refund(step=STEP, is_paid=False),
        refund(901, "35.70", RECORD_STEP, is_paid=False, lines={315: (2, "30.00", "5.70")}),
    ],
)
def test_the_refunds_that_the_reader_is_tested_on_are_refunds(folder: Path, told: dict[str, Any]) -> None:
    check_document(folder / "refund.response.schema.json", told)
    read = read_refund_record(told, "EUR")
    assert not isinstance(read, Unknown | Permanent)


def test_the_least_that_an_order_may_tell_is_no_order_to_act_on(folder: Path) -> None:
    """The description demands id, status, currency and total only; without its date nothing is decided about an order."""
    least = {"id": 723, "status": "processing", "currency": "EUR", "total": "1.00"}
    check_document(folder / "order.response.schema.json", least)
    http = FakeHttp(answer(200, least))
    assert isinstance(WooCommerce(http).read_order(OrderRef("woocommerce", "723")), Unknown)


def test_the_least_that_a_refund_may_tell_is_no_yes(folder: Path) -> None:
    least = {"id": 901, "amount": "53.43"}
    check_document(folder / "refund.response.schema.json", least)
    assert isinstance(WooCommerce(FakeHttp(*book(), answer(201, least))).refund(REFUND), Unknown)


@pytest.mark.parametrize("data", [500, 404, None, {"status": 500}])
def test_errors_are_shaped_as_described_and_none_is_a_yes(folder: Path, data: Any) -> None:
    told = {"code": "woocommerce_rest_cannot_create_order_refund", "message": "declined", "data": data}
    check_document(folder / "error.response.schema.json", told)
    calls: list[Callable[[WooCommerce], object]] = [
        lambda c: c.refund(REFUND),
        lambda c: c.record_order_refund(RECORD),
    ]
    for call in calls:
        assert isinstance(call(WooCommerce(FakeHttp(*book(), answer(500, told)))), Unknown)


def test_the_errors_of_the_unit_tests_are_errors(folder: Path) -> None:
    check_document(folder / "error.response.schema.json", error(500).json)


def test_what_polling_stores_reads_like_a_delivery(folder: Path) -> None:
    told = order(status="cancelled")
    check_document(folder / "webhook.order.updated.schema.json", told)
    polled = WooCommerce(FakeHttp(listed(told))).poll("", NOW)
    assert isinstance(polled, Polled)
    [event] = polled.events
    reading = WooCommerceInbound(Secret("s")).read_event(event.topic, event.body)
    assert reading == OrderCancelledElsewhere(OrderRef("woocommerce", "723", "1042"))


def test_the_signature_vectors_verify_or_fail_as_written(folder: Path) -> None:
    vectors = load(folder / "webhook_signature_vectors.json")["vectors"]
    assert {v["valid"] for v in vectors} == {True, False}
    for vector in vectors:
        headers = {"x-wc-webhook-topic": "order.updated", "x-wc-webhook-signature": vector["signature"]}
        delivery = Delivery(headers, vector["body"].encode())
        said = WooCommerceInbound(Secret(vector["secret"])).verify(delivery, NOW)
        assert said == (
            Verified("723/2026-11-22T10:15:00/cancelled/", "order.updated") if vector["valid"] else said
        )
        assert isinstance(said, Verified if vector["valid"] else Refused)


def test_a_done_refund_is_what_the_description_calls_paid(folder: Path) -> None:
    paid = load(folder / "refund.response.schema.json")["properties"]["refunded_payment"]
    assert paid["type"] == "boolean"
    assert WooCommerce(FakeHttp(*book(), answer(201, refund(step=STEP)))).refund(REFUND) == Done("901")
