"""Magento: what is sent, what every answer is taken for, and what an order's rows come to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from refundflow.connectors.base import Health, Polled
from refundflow.connectors.magento import (
    CANCELLED,
    REFUNDED,
    SETTLED_S,
    SPEC,
    VALIDATION,
    Credentials,
    Magento,
    MagentoInbound,
    Order,
    OrderReference,
    build,
    changes_request,
    error_text,
    is_id,
    provider_reference,
    quote,
    read_cursor,
    read_order_value,
    read_reference,
)
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundStatus,
    TakesBack,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    Refused,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Request, Response
from refundflow.transport.http import RequestsHttp, RequestsWire, _record, record_exchanges
from refundflow.transport.pacing import LocalPacer
from tests.support.fake_http import FakeHttp, FakeWire, answer

CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.refund.1")
KEY = wire_key(STEP, 1)
EUR = Money(4250, "EUR")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MARK = f"refundflow {STEP} credit memo {KEY} of 42.50 EUR"

REFUND = Refund(
    step_key=STEP,
    key=KEY,
    order_id="7",
    order_number="000000123",
    payment_reference="12",
    gateway="braintree",
    amount=EUR,
    lines=(LineQuantity("31", 2), LineQuantity("32", 1)),
    takes_out=True,
    restock=True,
    is_whole=True,
)
RECORD = RecordOrderRefund(
    step_key=STEP,
    key=KEY,
    order_id="7",
    order_number="000000123",
    amount=EUR,
    refund_references="re_1",
    lines=REFUND.lines,
    takes_out=True,
    restock=True,
    is_whole=True,
)
CANCEL = CancelOrder(
    step_key=StepKey(f"{CASE}.cancel_order.1"), key="k", order_id="7", reason="customer", restock=True
)
RESTOCK = Restock(
    step_key=StepKey(f"{CASE}.restock.1"),
    key="k",
    order_id="7",
    currency="EUR",
    lines=REFUND.lines,
    carried_by=STEP,
)


def item(
    item_id: int = 31, sku: str = "MUG", ordered: Any = 2, total: Any = 30, **changes: Any
) -> dict[str, Any]:
    return {
        "item_id": item_id,
        "sku": sku,
        "name": sku.title(),
        "product_type": "simple",
        "is_virtual": 0,
        "qty_ordered": ordered,
        "qty_invoiced": ordered,
        "qty_shipped": 0,
        "qty_canceled": 0,
        "qty_refunded": 0,
        "row_total": total,
        "tax_amount": 0,
        "discount_amount": 0,
        **changes,
    }


def order(**changes: Any) -> dict[str, Any]:
    """Two mugs of 15.00 and a tea of 7.50, shipping 5.00: 42.50 EUR, paid, nothing shipped."""
    return {
        "entity_id": 7,
        "increment_id": "000000123",
        "state": "processing",
        "status": "processing",
        "created_at": "2026-11-24 09:00:00",
        "updated_at": "2026-11-25 10:00:00",
        "order_currency_code": "EUR",
        "base_currency_code": "EUR",
        "base_to_order_rate": 1,
        "customer_email": "jane@example.com",
        "customer_firstname": "Jane",
        "customer_lastname": "Doe",
        "grand_total": Decimal("42.5"),
        "total_paid": Decimal("42.5"),
        "shipping_amount": 5,
        "shipping_tax_amount": 0,
        "items": [item(), item(32, "TEA", 1, Decimal("7.5"))],
        "payment": {"method": "braintree", "last_trans_id": "bt_1"},
        "status_histories": [],
        **changes,
    }


def uninvoiced(**changes: Any) -> dict[str, Any]:
    items = [item(qty_invoiced=0), item(32, "TEA", 1, Decimal("7.5"), qty_invoiced=0)]
    payment = {"method": "braintree", "last_trans_id": "bt_1", "amount_authorized": Decimal("42.5")}
    return order(**{"items": items, "total_paid": None, "payment": payment, **changes})


def cancelled(**changes: Any) -> dict[str, Any]:
    items = [item(qty_invoiced=0, qty_canceled=2), item(32, "TEA", 1, 7.5, qty_invoiced=0, qty_canceled=1)]
    return uninvoiced(**{"state": "canceled", "status": "canceled", "items": items, **changes})


def refunded(**changes: Any) -> dict[str, Any]:
    items = [item(qty_refunded=2), item(32, "TEA", 1, Decimal("7.5"), qty_refunded=1)]
    told = {"state": "closed", "items": items, "total_refunded": Decimal("42.5"), "shipping_refunded": 5}
    return order(**{**told, **changes})


def invoice(**changes: Any) -> dict[str, Any]:
    return {
        "entity_id": 12,
        "order_id": 7,
        "state": 2,
        "grand_total": Decimal("42.5"),
        "order_currency_code": "EUR",
        "transaction_id": "bt_1",
        **changes,
    }


def memo(**changes: Any) -> dict[str, Any]:
    return {
        "entity_id": 90,
        "order_id": 7,
        "state": 2,
        "grand_total": Decimal("42.5"),
        "order_currency_code": "EUR",
        "transaction_id": "bt_1-refund-1",
        "items": [{"order_item_id": 31, "qty": 2}, {"order_item_id": 32, "qty": 1}],
        "comments": [{"comment": f"refundflow {STEP}"}],
        **changes,
    }


def listed(*values: Any) -> Response:
    return answer(200, {"items": list(values), "search_criteria": {}, "total_count": len(values)})


def noted(*comments: str) -> dict[str, Any]:
    return {"status_histories": [{"comment": comment} for comment in comments]}


def validation(text: str = "We can't create creditmemo for the order.") -> Response:
    return answer(400, {"message": f"{VALIDATION}:\n{text}"})


GONE = answer(
    404, {"message": "The entity that was requested doesn't exist. Verify the entity and try again."}
)
NOT_SAVED = answer(400, {"message": "Could not save a Creditmemo, see error log for details"})


class Shop:
    """Answers each kind of call as it is told; a list is played one after the other, the last one again and again."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "order": order(),
            "invoices": [invoice()],
            "memos": listed(),
            "comment": True,
            "refund": 90,
            "memo": memo(),
            "cancel": True,
            **answers,
        }
        self.http = FakeHttp(always=self.play)

    def play(self, request: Request) -> Any:
        told = self.answers[kind_of(request)]
        if kind_of(request) == "invoices" and isinstance(told, list):
            return listed(*told)
        if isinstance(told, list):
            told = told.pop(0) if len(told) > 1 else told[0]
        return (
            told if isinstance(told, Response | Exception) else answer(200, json.dumps(told, default=float))
        )

    @property
    def connector(self) -> Magento:
        return Magento(self.http)

    @property
    def calls(self) -> list[str]:
        return [kind_of(request) for request in self.http.requests]

    def sent(self, kind: str) -> Any:
        (request,) = [request for request in self.http.requests if kind_of(request) == kind]
        return request.json


def kind_of(request: Request) -> str:
    path = request.path.removeprefix("/rest/V1/")
    if request.method == "POST":
        return {"cancel": "cancel", "comments": "comment", "refund": "refund"}[path.rpartition("/")[2]]
    head, _, rest = path.partition("/")
    return {"orders": "order" if rest else "orders", "creditmemos": "memos", "creditmemo": "memo"}.get(
        head, head
    )


def typed(value: dict[str, Any]) -> Order:
    """The order as the wire parses it, read."""
    read = read_order_value(answer(200, value).json)
    assert isinstance(read, Order), read
    return read


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("no scheme", {"base_url": "shop.example"}),
        ("with rest", {"base_url": "https://shop.example/rest/V1"}),
        ("a store that is a path", {"store": "../x"}),
        ("neither yes nor no", {"access_token_only": "perhaps"}),
        ("no consumer key", {"consumer_key": ""}),
        ("no consumer secret", {"consumer_secret": Secret()}),
        ("no token secret", {"access_token_secret": Secret()}),
    ],
)
def test_settings_that_cannot_work_are_named(_case: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is|are"):
        replace(signing(), **changes)


def signing(**changes: Any) -> Credentials:
    return Credentials(
        **{
            "base_url": "https://shop.example",
            "access_token": Secret("magento-token"),
            "consumer_key": "magento-key",
            "consumer_secret": Secret("magento-consumer-secret"),
            "access_token_secret": Secret("magento-token-secret"),
            **changes,
        }
    )


def test_calls_are_signed_unless_the_token_alone_will_do() -> None:
    wire = FakeWire()
    build(signing(), wire)
    build(Credentials("https://shop.example", Secret("magento-token"), access_token_only="yes"), wire)
    signed, bearer = wire.made
    assert (signed["headers"], signed["oauth1"].token, signed["oauth1"].token_secret) == (
        None,
        "magento-token",
        "magento-token-secret",
    )
    assert (bearer["headers"], bearer["oauth1"]) == ({"Authorization": "Bearer magento-token"}, None)
    assert "secret" not in repr(signing()).replace("consumer_secret", "").replace("token_secret", "")


@pytest.mark.parametrize(("store", "path"), [("", "/rest/V1/orders"), ("de", "/rest/de/V1/orders")])
def test_a_store_view_stands_in_the_path(store: str, path: str) -> None:
    http = FakeHttp(listed())
    build(signing(store=store), FakeWire(http)).check()
    assert http.sent.path == path


def test_a_check_is_one_small_read() -> None:
    http = FakeHttp(listed(order()))
    assert Magento(http).check() == Health(True, f"the integration is accepted; schema {SPEC.api_version}")
    assert ("searchCriteria[pageSize]", "1") in http.sent.params


def test_no_time_limits_of_one_refund_add_up_to_more_than_a_lease() -> None:
    shop = Shop()
    assert isinstance(shop.connector.refund(REFUND), Done)
    longest = SPEC.connect_s + SPEC.read_s
    assert sum(request.total_s or longest for request in shop.http.requests) < 90


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize(
    "text", ["", "0", "07", "7/cancel", "../7", "7?x=1", "-7", "7\n", "٧", "1" * 19, "order:7"]
)
def test_what_is_no_id_is_never_put_into_a_path(text: str) -> None:
    assert not is_id(text)
    http = FakeHttp()
    connector = Magento(http)
    said: list[Any] = [
        connector.read_order(OrderRef("magento", text)) if text else Permanent("unknown_reference", ""),
        connector.cancel_order(replace(CANCEL, order_id=text)),
        connector.find_cancel_order(replace(CANCEL, order_id=text)),
        connector.refund(replace(REFUND, order_id=text)),
        connector.find_refund(replace(REFUND, order_id=text)),
        connector.record_order_refund(replace(RECORD, order_id=text)),
        connector.find_record_order_refund(replace(RECORD, order_id=text)),
        connector.find_restock(replace(RESTOCK, order_id=text)),
    ]
    assert {getattr(each, "code", each) for each in said} == {"unknown_reference"}
    assert http.requests == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12", ("12",)),
        ("12+15", ("12", "15")),
        ("order:7", OrderReference("7")),
        ("order:x", None),
        ("invoice:7", None),
        ("12+", None),
        ("", None),
        ("12/void", None),
    ],
)
def test_references(text: str, wanted: Any) -> None:
    assert read_reference(text) == wanted


@pytest.mark.parametrize("reference", ["x", "order:7", "12+15"])
def test_a_payment_that_cannot_be_refunded_is_not_tried(reference: str) -> None:
    http = FakeHttp()
    assert isinstance(Magento(http).refund(replace(REFUND, payment_reference=reference)), Permanent)
    assert http.requests == []


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("pi_3Abc", "pi_3Abc"),
        ("pi_3Abc-capture", "pi_3Abc"),
        ("pi_3Abc-capture-refund", "pi_3Abc"),
        ("8AB12345-refund-2", "8AB12345"),
        ("550e8400-e29b-41d4", "550e8400-e29b-41d4"),
        ("ch_1-authorization", "ch_1"),
        ("x-ordering", "x-ordering"),
        ("", ""),
    ],
)
def test_a_transactions_id_is_the_providers_without_what_was_done_with_it(told: str, wanted: str) -> None:
    assert provider_reference(told) == wanted


# ---------------------------------------------------------------- orders


def test_a_paid_order_in_full() -> None:
    shop = Shop()
    facts = shop.connector.read_order(OrderRef("magento", "7"))
    assert isinstance(facts, OrderFacts)
    assert (facts.order_id, facts.number, facts.currency, facts.total) == ("7", "000000123", "EUR", EUR)
    assert (facts.email, facts.customer_name) == ("jane@example.com", "Jane Doe")
    assert facts.created_at == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    assert [(x.line_id, x.quantity, x.unfulfilled, x.refundable, x.unit) for x in facts.lines] == [
        ("31", 2, 2, 2, Money(1500, "EUR")),
        ("32", 1, 1, 1, Money(750, "EUR")),
    ]
    assert (facts.cancels, facts.cancels_lines, facts.cancel_refusal) == (
        TakesBack.REFUND,
        TakesBack.REFUND,
        "",
    )
    assert (facts.cancelled_at, facts.records_refunds, facts.is_restock_carried) == (None, True, True)
    assert not facts.restocks_itself
    (payment,) = facts.payments
    assert (payment.transaction_id, payment.provider_reference, payment.gateway) == (
        "12",
        "bt_1",
        "braintree",
    )
    assert (payment.is_captured, payment.amount) == (True, EUR)
    assert shop.calls == ["order", "invoices"]


def test_nothing_is_asked_about_invoices_where_there_are_none() -> None:
    shop = Shop(order=uninvoiced())
    facts = shop.connector.read_order(OrderRef("magento", "7"))
    assert isinstance(facts, OrderFacts)
    assert (facts.cancels, facts.cancels_lines, facts.records_refunds) == (
        TakesBack.CALL,
        TakesBack.PERSON,
        False,
    )
    assert not facts.restocks_itself
    assert [(p.transaction_id, p.is_captured, p.amount) for p in facts.payments] == [("order:7", False, EUR)]
    assert shop.calls == ["order"]


@pytest.mark.parametrize(
    ("_case", "value", "invoices", "word"),
    [
        ("free to go", order(), [invoice()], ""),
        ("nothing invoiced", uninvoiced(), [], ""),
        ("waiting for money", uninvoiced(state="pending_payment"), [], ""),
        ("on hold", order(state="holded"), [invoice()], "on hold"),
        ("under review", uninvoiced(state="payment_review"), [], "under review"),
        ("complete", order(state="complete"), [invoice()], "complete"),
        ("closed", order(state="closed"), [invoice()], "closed"),
        ("a state of the merchant's", order(state="mars"), [invoice()], "not known here"),
        (
            "partly invoiced",
            order(items=[item(qty_invoiced=1), item(32, "TEA", 1, 7.5)]),
            [invoice()],
            "a part of it is invoiced",
        ),
        (
            "the child alone is invoiced",
            uninvoiced(
                items=[
                    item(31, total=Decimal("37.5"), product_type="bundle", qty_invoiced=0),
                    item(33, "CUP", parent_item_id=31, total=0, qty_invoiced=1),
                ]
            ),
            [invoice()],
            "a part of it is invoiced",
        ),
        ("not paid", order(total_paid=None), [invoice(state=1)], "an invoice that is not paid"),
        (
            "a paid download",
            order(items=[item(), item(32, "PDF", 1, 7.5, product_type="downloadable")]),
            [invoice()],
            "PDF is nothing that is shipped",
        ),
        (
            "a bundle",
            order(items=[item(total=Decimal("37.5"), product_type="bundle")]),
            [invoice()],
            "bundle",
        ),
        (
            "another currency",
            order(base_currency_code="USD", base_to_order_rate=Decimal("1.1")),
            [invoice()],
            "base currency",
        ),
        ("no rate", order(base_currency_code="USD", base_to_order_rate=None), [invoice()], "base currency"),
        ("at one to one", order(base_currency_code="USD"), [invoice()], ""),
        ("other decimals", order(base_currency_code="JPY"), [invoice()], "base currency"),
        ("a gift card", order(grand_total=Decimal("32.5")), [invoice()], "gift card"),
        (
            "nothing left",
            uninvoiced(items=[item(qty_invoiced=0, qty_canceled=2)]),
            [],
            "nothing of it is left",
        ),
    ],
)
def test_what_would_be_refused_is_said_beforehand(_case: str, value: Any, invoices: Any, word: str) -> None:
    facts = Shop(order=value, invoices=invoices).connector.read_order(OrderRef("magento", "7"))
    assert isinstance(facts, OrderFacts), facts
    assert word in facts.cancel_refusal
    assert bool(word) is bool(facts.cancel_refusal)


@pytest.mark.parametrize(
    ("_case", "value", "is_cancelled"),
    [
        ("cancelled", cancelled(), True),
        ("refunded before it was shipped", refunded(), True),
        ("partly cancelled, the rest refunded", refunded(items=[item(qty_canceled=1, qty_refunded=1)]), True),
        ("refunded after it was shipped", refunded(items=[item(qty_refunded=2, qty_shipped=2)]), False),
        ("closed with units left", refunded(items=[item(qty_refunded=1)]), False),
        ("paid", order(), False),
    ],
)
def test_when_an_order_counts_as_cancelled(_case: str, value: Any, is_cancelled: bool) -> None:
    facts = Shop(order=value).connector.read_order(OrderRef("magento", "7"))
    assert isinstance(facts, OrderFacts)
    wanted = datetime(2026, 11, 25, 10, 0, tzinfo=UTC) if is_cancelled else None
    assert facts.cancelled_at == wanted
    assert not (is_cancelled and (facts.cancel_refusal or facts.records_refunds))


@pytest.mark.parametrize(
    ("_case", "items", "wanted"),
    [
        ("shipped", [item(qty_shipped=2)], [("31", 2, 0, 2)]),
        ("one shipped", [item(qty_shipped=1)], [("31", 2, 1, 2)]),
        ("one shipped, the other refunded", [item(qty_shipped=1, qty_refunded=1)], [("31", 1, 0, 1)]),
        ("both shipped, one came back", [item(qty_shipped=2, qty_refunded=1)], [("31", 1, 0, 1)]),
        ("one cancelled", [item(qty_canceled=1, qty_invoiced=1)], [("31", 1, 1, 1)]),
        (
            "a configurable product and its child",
            [item(product_type="configurable"), item(33, "MUG-RED", parent_item_id=31)],
            [("31", 2, 2, 2)],
        ),
        (
            "a download beside what waits for shipping",
            [item(), item(32, "PDF", 1, is_virtual=1)],
            [("31", 2, 2, 2), ("32", 1, 1, 1)],
        ),
        (
            "a download beside what was shipped",
            [item(qty_shipped=2), item(32, "PDF", 1, is_virtual=1)],
            [("31", 2, 0, 2), ("32", 1, 0, 1)],
        ),
        ("a download alone, paid", [item(32, "PDF", 1, is_virtual=1)], [("32", 1, 0, 1)]),
        ("a download alone, not paid", [item(32, "PDF", 1, is_virtual=1, qty_invoiced=0)], [("32", 1, 1, 1)]),
    ],
)
def test_units(_case: str, items: Any, wanted: Any) -> None:
    facts = Shop(order=order(items=items)).connector.read_order(OrderRef("magento", "7"))
    assert isinstance(facts, OrderFacts)
    assert [(x.line_id, x.quantity, x.unfulfilled, x.refundable) for x in facts.lines] == wanted


def test_a_price_is_what_was_paid_with_every_part_that_magento_sums_up() -> None:
    row = item(
        total=30,
        tax_amount=Decimal("5.1"),
        discount_amount=Decimal("4.2"),
        discount_tax_compensation_amount=Decimal("0.6"),
        weee_tax_applied_row_amount=1,
    )
    read = typed(order(items=[row]))
    assert read.rows[0].total == 3250
    assert quote(read, (LineQuantity("31", 1),)) == Money(1625, "EUR")


def test_parts_of_a_row_sum_to_the_row_whatever_was_refunded_before() -> None:
    def row(refunded: int) -> dict[str, Any]:
        parts: dict[str, Any] = {"tax_amount": Decimal("3.33"), "discount_amount": Decimal("1.01")}
        return order(items=[item(ordered=3, total=30, qty_refunded=refunded, **parts)])

    one = (LineQuantity("31", 1),)
    parts = [quote(typed(row(refunded)), one) for refunded in range(3)]
    assert sum(part.minor for part in parts if isinstance(part, Money)) == 3232
    assert quote(typed(row(0)), (LineQuantity("31", 3),)) == Money(3232, "EUR")


@pytest.mark.parametrize(("line_id", "quantity"), [("99", 1), ("31", 0), ("31", 3), ("31", -1)])
def test_units_that_an_order_does_not_have_are_not_quoted(line_id: str, quantity: int) -> None:
    facts = Shop().connector.read_order(OrderRef("magento", "7"))
    assert isinstance(facts, OrderFacts)
    said = Shop().connector.quote_lines(facts, (LineQuantity(line_id, quantity),))
    assert isinstance(said, Permanent)
    assert said.code == "unknown_units"


@pytest.mark.parametrize(
    ("_case", "changes", "wanted"),
    [
        ("half a unit", {"items": [item(ordered=Decimal("2.5"))]}, "fractional_quantity"),
        ("half a unit refunded", {"items": [item(qty_refunded=Decimal("0.5"))]}, "fractional_quantity"),
        ("a thousandth of a cent", {"grand_total": Decimal("42.505")}, "amount_unsupported"),
        ("noise of binary fractions", {"total_paid": Decimal("42.49999999999999")}, ""),
        ("no lines", {"items": []}, "unknown"),
        ("no currency", {"order_currency_code": None}, "unknown"),
        ("a currency that is none", {"order_currency_code": "euro"}, "unknown"),
        ("a truth for an amount", {"grand_total": True}, "unknown"),
        ("a text for an amount", {"grand_total": "42.50"}, "unknown"),
        ("a huge amount", {"grand_total": Decimal("1e30")}, "unknown"),
        ("a negative quantity", {"items": [item(qty_refunded=-1)]}, "unknown"),
        ("a text for a quantity", {"items": [item(qty_refunded="1")]}, "unknown"),
        ("a line without id", {"items": [item(item_id=0)]}, "unknown"),
        ("a line without sku", {"items": [item(sku="")]}, "unknown"),
        ("no state", {"state": None}, "unknown"),
        ("no number", {"increment_id": ""}, "unknown"),
        ("no time", {"updated_at": "soon"}, "unknown"),
        ("a time that is none", {"created_at": "2026-13-01 00:00:00"}, "unknown"),
        ("another order", {"entity_id": 8}, "unknown"),
    ],
)
def test_an_order_that_cannot_be_read_is_never_guessed(_case: str, changes: Any, wanted: str) -> None:
    said = Shop(order=order(**changes)).connector.read_order(OrderRef("magento", "7"))
    match said:
        case Permanent(code=code):
            assert code == wanted
        case Unknown():
            assert wanted == "unknown"
        case _:
            assert wanted == ""


@pytest.mark.parametrize(
    ("_case", "response", "wanted"),
    [
        ("not there", GONE, NotFound),
        ("no such route", answer(404, {"message": "Request does not match any route."}), Permanent),
        ("a 404 of something in front", answer(404, "<html>"), Unknown),
        ("a text for an id", answer(400, {"message": "Invalid type"}), Permanent),
        (
            "a stale clock",
            answer(400, {"message": "Incorrect timestamp value in the oauth_timestamp"}),
            Retryable,
        ),
        ("maintenance", answer(503, "down"), Retryable),
        ("broken", answer(500, {"message": "Internal Error"}), Retryable),
    ],
)
def test_what_a_read_says_where_there_is_no_order(_case: str, response: Response, wanted: type) -> None:
    assert isinstance(Shop(order=response).connector.read_order(OrderRef("magento", "7")), wanted)


@pytest.mark.parametrize(
    ("_case", "response", "wanted"),
    [
        ("one", listed(order()), OrderFacts),
        ("none", listed(), NotFound),
        ("null for none", answer(200, {"items": None, "total_count": 0}), NotFound),
        ("one that is only alike", listed(order(increment_id="000000123a")), NotFound),
        ("two", listed(order(), order(entity_id=8)), Permanent),
        ("two, one shown", answer(200, {"items": [order()], "total_count": 2}), Permanent),
        ("cut short", answer(200, {"items": [], "total_count": 1}), Unknown),
        ("more than all", answer(200, {"items": [order()], "total_count": 0}), Unknown),
    ],
)
def test_a_number_names_one_order_or_none(_case: str, response: Response, wanted: type) -> None:
    shop = Shop(orders=response)
    assert isinstance(shop.connector.read_order(OrderRef("magento", number="#000000123")), wanted)
    params = dict(shop.http.requests[0].params)
    assert params["searchCriteria[filterGroups][0][filters][0][value]"] == "000000123"


def test_an_order_needs_a_name() -> None:
    assert isinstance(Magento(FakeHttp()).read_order(OrderRef("magento")), Permanent)


# ---------------------------------------------------------------- payments


def test_a_captured_payment_counts_every_credit_memo_of_the_order() -> None:
    memos = listed(
        memo(entity_id=90, grand_total=10, comments=[{"comment": "by hand"}], transaction_id=None),
        memo(entity_id=91, grand_total=5),
        memo(entity_id=92, grand_total=1, state=1, comments=[]),
        memo(entity_id=93, grand_total=1, state=3, comments=[]),
        memo(entity_id=94, grand_total=1, state=9, comments=[]),
    )
    facts = Shop(memos=memos).connector.read_payment("7", "12")
    assert isinstance(facts, PaymentFacts)
    assert (facts.state, facts.captured, facts.gateway, facts.order_number) == (
        PaymentState.CAPTURED,
        EUR,
        "braintree",
        "000000123",
    )
    assert [(r.reference, r.amount.minor, r.status, r.step_key) for r in facts.refunds] == [
        ("90", 1000, RefundStatus.SUCCEEDED, ""),
        ("91", 500, RefundStatus.SUCCEEDED, STEP),
        ("92", 100, RefundStatus.PENDING, ""),
        ("93", 100, RefundStatus.FAILED, ""),
        ("94", 100, RefundStatus.PENDING, ""),
    ]
    assert (facts.refunded, facts.refunded_elsewhere) == (1700, 1200)


@pytest.mark.parametrize(
    ("_case", "value", "invoices", "reference", "wanted"),
    [
        ("authorised", uninvoiced(), [], "order:7", PaymentState.AUTHORISED),
        (
            "the authorisation let go",
            cancelled(payment={"method": "x", "amount_authorized": 42.5, "amount_canceled": 42.5}),
            [],
            "order:7",
            PaymentState.VOIDED,
        ),
        ("never authorised", uninvoiced(payment={"method": "checkmo"}), [], "order:7", PaymentState.NOT_PAID),
        ("captured meanwhile", order(), [invoice()], "order:7", Retryable),
        ("another invoice", order(), [invoice()], "13", NotFound),
        ("an invoice that was cancelled", order(), [invoice(state=3)], "12", NotFound),
        ("an invoice that is not paid", order(), [invoice(state=1)], "12", NotFound),
        ("an invoice in another currency", order(), [invoice(order_currency_code="USD")], "12", Unknown),
        ("an invoice in a state that is new", order(), [invoice(state=4)], "12", Unknown),
        ("a payment of somebody else's", order(), [invoice()], "pi_1", Permanent),
    ],
)
def test_payments(_case: str, value: Any, invoices: Any, reference: str, wanted: Any) -> None:
    facts = Shop(order=value, invoices=invoices).connector.read_payment("7", reference)
    if isinstance(facts, PaymentFacts):
        assert facts.state is wanted
        assert (facts.authorised == EUR) is (wanted is PaymentState.AUTHORISED)
        assert facts.captured.minor == 0
    else:
        assert isinstance(facts, wanted)


@pytest.mark.parametrize(
    ("_case", "value", "invoices", "word"),
    [
        ("one invoice", order(), [invoice()], ""),
        ("two", order(), [invoice(), invoice(entity_id=13)], "several invoices"),
        ("a cheque", order(), [invoice(transaction_id=None)], "by hand"),
        (
            "another currency",
            order(base_currency_code="USD", base_to_order_rate=2),
            [invoice()],
            "base currency",
        ),
        ("store credit in it", order(grand_total=40), [invoice()], "store credit"),
        (
            "discounted shipping, half of it gone",
            order(shipping_discount_amount=1, shipping_refunded=2, grand_total=Decimal("41.5")),
            [invoice()],
            "shipping",
        ),
        ("on hold: that passes", order(state="holded"), [invoice()], ""),
    ],
)
def test_what_a_payer_would_refuse_is_said_beforehand(
    _case: str, value: Any, invoices: Any, word: str
) -> None:
    facts = Shop(order=value, invoices=invoices).connector.read_payment("7", "12")
    assert isinstance(facts, PaymentFacts)
    assert word in facts.refund_refusal
    assert bool(word) is bool(facts.refund_refusal)


def test_a_list_is_read_over_all_its_pages_and_never_past_the_last() -> None:
    first = answer(
        200, {"items": [memo(entity_id=n, comments=[]) for n in range(1, 101)], "total_count": 101}
    )
    second = answer(200, {"items": [memo(entity_id=101)], "total_count": 101})
    shop = Shop(memos=[first, second])
    assert shop.connector.find_refund(REFUND) == Done("101", "transaction bt_1-refund-1")
    params = [dict(r.params) for r in shop.http.requests]
    assert [p["searchCriteria[currentPage]"] for p in params] == ["1", "2"]
    assert {p["searchCriteria[sortOrders][0][direction]"] for p in params} == {"ASC"}


def test_a_list_without_end_is_no_proof_of_absence() -> None:
    endless = answer(
        200, {"items": [memo(entity_id=n, comments=[]) for n in range(1, 101)], "total_count": 9999}
    )
    assert isinstance(Shop(memos=endless).connector.find_refund(REFUND), Unknown)


def test_a_memo_without_comments_in_the_list_is_read_by_itself() -> None:
    bare = memo()
    del bare["comments"]
    shop = Shop(memos=listed(bare))
    assert isinstance(shop.connector.find_refund(REFUND), Done)
    assert shop.calls == ["memos", "memo"]


# ---------------------------------------------------------------- the credit memo that is asked for


def arguments(command: Refund | RecordOrderRefund, **answers: Any) -> tuple[dict[str, Any], Any]:
    """What was asked for, and the outcome. The shop grants the amount."""
    given = memo(grand_total=Decimal(command.amount.major))
    shop = Shop(**{"memo": given, **answers})
    match command:
        case Refund():
            said = shop.connector.refund(command)
        case RecordOrderRefund():
            said = shop.connector.record_order_refund(command)
    body = shop.sent("refund")
    return {"items": [(i["order_item_id"], i["qty"]) for i in body["items"]], **body["arguments"]}, said


@pytest.mark.parametrize(
    ("_case", "value", "command", "wanted"),
    [
        (
            "the whole order",
            order(),
            REFUND,
            {"items": [(31, 2), (32, 1)], "shipping_amount": 5, "back": [31, 32]},
        ),
        (
            "the whole order, stock owned elsewhere",
            order(),
            replace(REFUND, restock=False),
            {"items": [(31, 2), (32, 1)], "shipping_amount": 5},
        ),
        (
            "one unit",
            order(),
            replace(REFUND, amount=Money(1500, "EUR"), lines=(LineQuantity("31", 1),), is_whole=False),
            {"items": [(31, 1)], "back": [31]},
        ),
        (
            "one unit, named twice",
            order(),
            replace(
                REFUND,
                amount=Money(3000, "EUR"),
                lines=(LineQuantity("31", 1), LineQuantity("31", 1)),
                is_whole=False,
            ),
            {"items": [(31, 2)], "back": [31]},
        ),
        (
            "less than a unit is worth",
            order(),
            replace(REFUND, amount=Money(1000, "EUR"), lines=(LineQuantity("31", 1),), is_whole=False),
            {"items": [(31, 1)], "adjustment_negative": 5, "back": [31]},
        ),
        (
            "more than a unit is worth",
            order(),
            replace(REFUND, amount=Money(1750, "EUR"), lines=(LineQuantity("31", 1),), is_whole=False),
            {"items": [(31, 1)], "adjustment_positive": Decimal("2.5"), "back": [31]},
        ),
        (
            "money alone",
            order(),
            replace(REFUND, amount=Money(123, "EUR"), lines=(), takes_out=False, is_whole=False),
            {"items": [(31, 0), (32, 0)], "adjustment_positive": Decimal("1.23")},
        ),
        (
            "money for units that stay",
            order(),
            replace(REFUND, amount=Money(123, "EUR"), takes_out=False, restock=False),
            {"items": [(31, 0), (32, 0)], "adjustment_positive": Decimal("1.23")},
        ),
        (
            "what is left after money went alone",
            order(total_refunded=10),
            replace(REFUND, amount=Money(3250, "EUR")),
            {"items": [(31, 2), (32, 1)], "shipping_amount": 5, "adjustment_negative": 10, "back": [31, 32]},
        ),
        (
            "shipping half gone",
            order(total_refunded=2, shipping_refunded=2),
            replace(REFUND, amount=Money(4050, "EUR")),
            {"items": [(31, 2), (32, 1)], "shipping_amount": 3, "back": [31, 32]},
        ),
        (
            "taxed shipping: all that is left, whichever way the shop counts",
            order(shipping_tax_amount=1, grand_total=Decimal("43.5"), total_paid=Decimal("43.5")),
            replace(REFUND, amount=Money(4350, "EUR")),
            {"items": [(31, 2), (32, 1)], "shipping_amount": None, "back": [31, 32]},
        ),
        (
            "taxed shipping that stays",
            order(shipping_tax_amount=1, grand_total=Decimal("43.5"), total_paid=Decimal("43.5")),
            replace(REFUND, amount=Money(750, "EUR"), lines=(LineQuantity("32", 1),), is_whole=False),
            {"items": [(32, 1)], "back": [32]},
        ),
        (
            "discounted shipping",
            order(shipping_discount_amount=2, grand_total=Decimal("40.5"), total_paid=Decimal("40.5")),
            replace(REFUND, amount=Money(4050, "EUR")),
            {"items": [(31, 2), (32, 1)], "shipping_amount": 5, "back": [31, 32]},
        ),
        (
            "a download is not put back",
            order(items=[item(), item(32, "PDF", 1, Decimal("7.5"), is_virtual=1)]),
            REFUND,
            {"items": [(31, 2), (32, 1)], "shipping_amount": 5, "back": [31]},
        ),
        (
            "a currency without decimals",
            order(
                order_currency_code="JPY",
                base_currency_code="JPY",
                grand_total=4250,
                total_paid=4250,
                shipping_amount=500,
                items=[item(total=3000), item(32, "TEA", 1, 750)],
            ),
            replace(REFUND, amount=Money(4250, "JPY")),
            {"items": [(31, 2), (32, 1)], "shipping_amount": 500, "back": [31, 32]},
        ),
    ],
)
def test_what_is_asked_for_comes_to_the_amount(
    _case: str, value: Any, command: Refund, wanted: dict[str, Any]
) -> None:
    currency = command.amount.currency
    told = {
        "invoices": [invoice(order_currency_code=currency, grand_total=4250)],
        "memo": memo(order_currency_code=currency, grand_total=Decimal(command.amount.major)),
    }
    asked, said = arguments(command, order=value, **told)
    back = asked.pop("extension_attributes", {}).get("return_to_stock_items", None)
    expected = {"adjustment_positive": 0, "adjustment_negative": 0, "shipping_amount": 0, **wanted}
    assert back == expected.pop("back", None)
    if expected["shipping_amount"] is None:
        del expected["shipping_amount"]
    assert asked == expected
    assert isinstance(said, Done), said


def test_an_online_refund_says_so_and_carries_our_reference() -> None:
    shop = Shop()
    shop.connector.refund(REFUND)
    body = shop.sent("refund")
    assert {n: body[n] for n in ("isOnline", "notify", "appendComment", "comment")} == {
        "isOnline": True,
        "notify": False,
        "appendComment": True,
        "comment": {"comment": f"refundflow {STEP}", "is_visible_on_front": 0},
    }
    assert shop.http.calls[-2] == "POST /rest/V1/invoice/12/refund"
    assert shop.sent("comment") == {
        "statusHistory": {
            "comment": MARK,
            "is_customer_notified": 0,
            "is_visible_on_front": 0,
            "parent_id": 7,
            "status": "processing",
        }
    }


def test_a_record_asks_no_gateway() -> None:
    shop = Shop()
    assert isinstance(shop.connector.record_order_refund(RECORD), Done)
    body = shop.sent("refund")
    assert "isOnline" not in body
    assert body["comment"]["comment"] == f"refundflow {STEP} paid back as re_1"
    assert "POST /rest/V1/order/7/refund" in shop.http.calls


def test_an_order_without_a_status_is_marked_without_one() -> None:
    shop = Shop(order=order(status=None))
    shop.connector.refund(REFUND)
    assert "status" not in shop.sent("comment")["statusHistory"]


@pytest.mark.parametrize(
    ("_case", "answers", "command", "code"),
    [
        ("not there", {"order": GONE}, REFUND, "not_found"),
        ("on hold", {"order": order(state="holded")}, REFUND, "wrong_state"),
        ("under review", {"order": order(state="payment_review")}, REFUND, "wrong_state"),
        ("cancelled", {"order": order(state="canceled")}, REFUND, "wrong_state"),
        ("a state that is new", {"order": order(state="mars")}, REFUND, "wrong_state"),
        ("another currency was meant", {}, replace(REFUND, amount=Money(4250, "USD")), "amount_mismatch"),
        ("nothing", {}, replace(REFUND, amount=Money(0, "EUR")), "amount_unsupported"),
        ("more than was paid", {}, replace(REFUND, amount=Money(4251, "EUR")), "amount_too_large"),
        ("given back by others", {"order": order(total_refunded=1)}, REFUND, "refunded_elsewhere"),
        ("two invoices", {"invoices": [invoice(), invoice(entity_id=13)]}, REFUND, "not_refundable"),
        ("a cheque", {"invoices": [invoice(transaction_id=None)]}, REFUND, "not_refundable"),
        ("another invoice", {"invoices": [invoice(entity_id=13)]}, REFUND, "not_found"),
        (
            "another base currency",
            {"order": order(base_currency_code="USD", base_to_order_rate=2)},
            REFUND,
            "not_refundable",
        ),
        ("a fee in it", {"order": order(grand_total=50)}, REFUND, "not_refundable"),
        ("a line of another order", {}, replace(REFUND, lines=(LineQuantity("99", 1),)), "unknown_units"),
        ("too many units", {}, replace(REFUND, lines=(LineQuantity("31", 3),)), "not_invoiced"),
        (
            "units that were not invoiced",
            {"order": order(items=[item(qty_invoiced=1), item(32, "TEA", 1, Decimal("7.5"))])},
            REFUND,
            "not_invoiced",
        ),
        (
            "nothing left to refund",
            {
                "order": order(
                    items=[item(qty_refunded=2), item(32, "TEA", 1, Decimal("7.5"), qty_refunded=1)]
                )
            },
            REFUND,
            "nothing_to_refund",
        ),
        (
            "money alone without shipping",
            {"order": order(shipping_amount=0, grand_total=Decimal("37.5"))},
            replace(REFUND, lines=(), takes_out=False),
            "no_products",
        ),
        (
            "sold by weight",
            {"order": order(items=[item(ordered=Decimal("1.5"))])},
            REFUND,
            "fractional_quantity",
        ),
    ],
)
def test_what_cannot_be_refunded_rightly_is_not_asked_for(
    _case: str, answers: Any, command: Refund, code: str
) -> None:
    shop = Shop(**answers)
    said = shop.connector.refund(command)
    assert isinstance(said, Permanent)
    assert said.code == code
    assert {"comment", "refund"}.isdisjoint(shop.calls)


def test_a_record_of_several_invoices_or_of_a_cheque_is_written() -> None:
    invoices = [invoice(transaction_id=None, grand_total=20), invoice(entity_id=13, grand_total=22.5)]
    assert isinstance(Shop(invoices=invoices).connector.record_order_refund(RECORD), Done)


# ---------------------------------------------------------------- the order of calls


def test_the_mark_stands_and_a_look_is_made_before_the_money_is_asked_for() -> None:
    shop = Shop()
    assert isinstance(shop.connector.refund(REFUND), Done)
    assert shop.calls == ["order", "invoices", "comment", "memos", "refund", "memo"]


def test_a_repeat_looks_first_and_marks_once() -> None:
    again = Shop(order=order(**noted(MARK)))
    assert isinstance(again.connector.refund(REFUND), Done)
    assert again.calls == ["order", "memos", "invoices", "refund", "memo"]

    done = Shop(order=refunded(**noted(MARK)), memos=listed(memo()))
    assert done.connector.refund(REFUND) == Done("90", "transaction bt_1-refund-1")
    assert done.calls == ["order", "memos"]


def test_a_new_key_is_marked_anew() -> None:
    shop = Shop(order=order(**noted(MARK)))
    shop.connector.refund(replace(REFUND, key=wire_key(STEP, 2)))
    assert shop.calls == ["order", "memos", "invoices", "comment", "memos", "refund", "memo"]
    assert wire_key(STEP, 2) in shop.sent("comment")["statusHistory"]["comment"]


def test_another_worker_that_came_as_far_is_seen_after_marking() -> None:
    shop = Shop(memos=listed(memo()))
    assert isinstance(shop.connector.refund(REFUND), Done)
    assert "refund" not in shop.calls


@pytest.mark.parametrize("kind", ["order", "invoices", "comment", "memos"])
@pytest.mark.parametrize(
    "trouble",
    [
        MaybeSentError("reset"),
        answer(500, "x"),
        answer(200, "<html>"),
        answer(401, {"message": "no"}),
        answer(429, "slow", {"Retry-After": "7"}),
    ],
)
def test_trouble_before_the_call_for_money_is_certainly_nothing(kind: str, trouble: Any) -> None:
    shop = Shop(**{kind: trouble})
    said = shop.connector.refund(REFUND)
    assert isinstance(said, Retryable)
    assert "refund" not in shop.calls
    if isinstance(trouble, Response) and trouble.status == 429:
        assert (said.code, said.after_s) == ("throttled", 7.0)


@pytest.mark.parametrize("kind", ["order", "invoices", "comment", "memos", "refund"])
def test_what_was_not_sent_is_told_by_the_wire(kind: str) -> None:
    with pytest.raises(NotSentError):
        Shop(**{kind: NotSentError("refused")}).connector.refund(REFUND)


def test_a_memo_of_ours_in_a_state_that_is_new_is_never_taken_for_nothing() -> None:
    shop = Shop(order=order(**noted(MARK)), memos=listed(memo(state=9)))
    assert isinstance(shop.connector.refund(REFUND), Unknown)
    assert "refund" not in shop.calls


# ---------------------------------------------------------------- what became of it


@pytest.mark.parametrize(
    ("_case", "response", "after", "wanted"),
    [
        ("an id", answer(200, "90"), None, Done("90", "transaction bt_1-refund-1")),
        ("an id as text", answer(200, '"90"'), None, Done("90", "transaction bt_1-refund-1")),
        ("validation", validation(), None, "validation"),
        ("validation, because it was done", validation(), memo(), Done("90", "transaction bt_1-refund-1")),
        ("could not save", NOT_SAVED, None, Unknown),
        ("could not save, but did", NOT_SAVED, memo(), Done("90", "transaction bt_1-refund-1")),
        ("another 400", answer(400, {"message": "Maximum shipping amount allowed"}), None, Unknown),
        ("broken", answer(500, {"message": "Internal Error"}), None, Unknown),
        ("broken, after it", answer(500, "x"), memo(), Done("90", "transaction bt_1-refund-1")),
        ("maintenance", answer(503, "x"), None, Unknown),
        ("a truth", answer(200, "true"), None, Unknown),
        ("zero", answer(200, "0"), None, Unknown),
        ("a page", answer(200, "<html>"), None, Unknown),
        ("a redirect", answer(302, ""), None, Unknown),
        (
            "slow down",
            answer(429, "", {"Retry-After": "7"}),
            None,
            Retryable("throttled", "the shop is asked too often", 7.0),
        ),
        ("no permission", answer(401, {"message": "no"}), None, "unauthorised"),
        ("no such invoice", GONE, None, "not_found"),
        ("over another amount", NOT_SAVED, memo(grand_total=40), "amount_mismatch"),
    ],
)
@pytest.mark.parametrize("is_online", [True, False])
def test_the_answer_to_a_credit_memo(
    _case: str, response: Response, after: Any, wanted: Any, is_online: bool
) -> None:
    shop = Shop(memos=[listed(), listed(after) if after else listed()], refund=response)
    said = shop.connector.refund(REFUND) if is_online else shop.connector.record_order_refund(RECORD)
    match wanted:
        case str(code):
            assert getattr(said, "code", said) == code
        case type():
            assert isinstance(said, wanted)
        case _:
            assert said == wanted


def test_a_refusal_because_others_gave_it_back_says_so() -> None:
    shop = Shop(order=[order(), order(total_refunded=40)], refund=validation())
    said = shop.connector.refund(REFUND)
    assert isinstance(said, Permanent)
    assert said.code == "refunded_elsewhere"


@pytest.mark.parametrize("trouble", [MaybeSentError("reset"), NotSentError("refused"), answer(500, "")])
@pytest.mark.parametrize("response", [validation(), NOT_SAVED])
def test_a_refusal_that_cannot_be_looked_at_is_unknown(trouble: Any, response: Response) -> None:
    """Also where the look was not sent: "not sent" would be taken for "nothing happened"."""
    shop = Shop(memos=[listed(), trouble], refund=response)
    assert isinstance(shop.connector.refund(REFUND), Unknown)


def test_a_lost_answer_is_told_by_the_wire() -> None:
    with pytest.raises(MaybeSentError):
        Shop(refund=MaybeSentError("reset")).connector.refund(REFUND)


@pytest.mark.parametrize(
    ("_case", "told", "wanted"),
    [
        ("as asked", memo(), Done("90", "transaction bt_1-refund-1")),
        ("over less", memo(grand_total=Decimal("42.49")), "amount_mismatch"),
        ("over more", memo(grand_total=Decimal("42.51")), "amount_mismatch"),
        ("in another currency", memo(order_currency_code="USD"), "amount_mismatch"),
        ("open", memo(state=1), Pending("90")),
        ("cancelled", memo(state=3), "refund_failed"),
        ("in a state that is new", memo(state=9), Pending("90", 5.0)),
        ("of another order", memo(order_id=8), "wrong_order"),
        ("unreadable", {"entity_id": 90}, Pending("90", 5.0)),
        ("a page", answer(200, "<html>"), Pending("90", 5.0)),
        ("not found yet", GONE, Pending("90", 5.0)),
        ("broken", answer(500, ""), Pending("90", 5.0)),
        ("reset", MaybeSentError("reset"), Pending("90", 5.0)),
        ("not sent", NotSentError("refused"), Pending("90", 5.0)),
        ("paced", answer(429, ""), Pending("90", 5.0)),
    ],
)
def test_a_credit_memo_is_read_back(_case: str, told: Any, wanted: Any) -> None:
    said = Shop(memo=told).connector.refund(REFUND)
    if isinstance(wanted, str):
        assert getattr(said, "code", said) == wanted
    else:
        assert said == wanted


def test_an_online_memo_without_a_transaction_is_believed_where_the_order_shows_the_money() -> None:
    bare = memo(transaction_id=None)
    moved = Shop(order=[order(), order(total_online_refunded=Decimal("42.5"))], memo=bare)
    assert moved.connector.refund(REFUND) == Done("90", "")
    offline = Shop(order=[order(), order(total_offline_refunded=Decimal("42.5"))], memo=bare)
    said = offline.connector.refund(REFUND)
    assert isinstance(said, Permanent)
    assert said.code == "booked_offline"
    unclear = Shop(order=[order(), answer(500, "")], memo=bare)
    assert unclear.connector.refund(REFUND) == Pending("90", 5.0)
    assert isinstance(Shop(memo=bare).connector.record_order_refund(RECORD), Done)


# ---------------------------------------------------------------- looking


@pytest.mark.parametrize(
    ("_case", "answers", "wanted"),
    [
        ("ours", {"memos": listed(memo())}, Done("90", "transaction bt_1-refund-1")),
        ("ours, open", {"memos": listed(memo(state=1))}, Pending("90")),
        ("ours, cancelled", {"memos": listed(memo(state=3))}, "refund_failed"),
        (
            "ours, one cancelled and one not",
            {"memos": listed(memo(state=3), memo(entity_id=91))},
            Done("91", "transaction bt_1-refund-1"),
        ),
        ("ours, over less", {"memos": listed(memo(grand_total=40))}, "amount_mismatch"),
        ("ours, twice", {"memos": listed(memo(), memo(entity_id=91))}, "amount_mismatch"),
        ("ours, in a state that is new", {"memos": listed(memo(state=9))}, Unknown),
        (
            "none, no mark",
            {},
            NotFound(SETTLED_S, "no credit memo and no mark of ours: the money was never asked for"),
        ),
        ("none, and our mark", {"order": order(**noted("x", MARK))}, None),
        (
            "none, and the mark of an older key",
            {"order": order(**noted(MARK.replace(":1 of", ":0 of")))},
            NotFound(SETTLED_S, "no credit memo and no mark of ours: the money was never asked for"),
        ),
        (
            "of a step whose key begins with ours",
            {"memos": listed(memo(comments=[{"comment": f"refundflow {STEP}0"}]))},
            NotFound(SETTLED_S, "no credit memo and no mark of ours: the money was never asked for"),
        ),
        (
            "somebody else's",
            {"order": order(total_refunded=1), "memos": listed(memo(comments=[]))},
            "refunded_elsewhere",
        ),
        ("no list", {"memos": answer(200, "{}")}, Unknown),
        ("a list of wrong things", {"memos": listed(3)}, Unknown),
        ("a memo without amount's currency", {"memos": listed(memo(order_currency_code=None))}, Unknown),
        ("a list that is refused", {"memos": answer(400, {"message": "no"})}, Unknown),
        ("no order", {"order": GONE}, Unknown),
        ("an unreadable order", {"order": answer(200, "{}")}, Unknown),
    ],
)
def test_finding_a_refund(_case: str, answers: Any, wanted: Any) -> None:
    found = Shop(**answers).connector.find_refund(REFUND)
    match wanted:
        case None:
            assert isinstance(found, NotFound)
            assert found.conclusive_after_s is None
        case str(code):
            assert getattr(found, "code", found) == code
        case type():
            assert isinstance(found, wanted)
        case _:
            assert found == wanted


def test_finding_a_record_needs_no_mark() -> None:
    shop = Shop(order=order(**noted(MARK)))
    assert shop.connector.find_record_order_refund(RECORD) == NotFound(
        SETTLED_S, "no credit memo has our reference"
    )
    assert Shop(memos=listed(memo(transaction_id=None))).connector.find_record_order_refund(RECORD) == Done(
        "90"
    )


# ---------------------------------------------------------------- cancelling


@pytest.mark.parametrize(
    ("_case", "response", "after", "wanted"),
    [
        ("true", True, cancelled(**noted(f"refundflow {CANCEL.step_key} cancel")), Done),
        ("true, and the mark is not shown", True, cancelled(), Done),
        ("true, and only a part went", True, order(items=[item(qty_canceled=1)]), "partly_cancelled"),
        ("true, and nothing went", True, uninvoiced(), Unknown),
        ("false", False, uninvoiced(), "not_cancelled"),
        ("false, on hold meanwhile", False, uninvoiced(state="holded"), "not_cancelled"),
        ("false, cancelled meanwhile", False, cancelled(), AlreadyDone),
        ("a void that failed", answer(400, {"message": "void refused"}), uninvoiced(), "not_cancelled"),
        ("broken", answer(500, ""), uninvoiced(), Unknown),
        (
            "broken, after it",
            answer(500, ""),
            cancelled(**noted(f"refundflow {CANCEL.step_key} cancel")),
            Done,
        ),
        ("a page", answer(200, "<html>"), uninvoiced(), Unknown),
        ("true, and no answer to the look", True, answer(500, ""), Unknown),
        ("true, and the look was reset", True, MaybeSentError("reset"), Unknown),
        ("false, and the look was not sent", False, NotSentError("refused"), Unknown),
        ("no permission", answer(401, {"message": "no"}), uninvoiced(), "unauthorised"),
        ("slow down", answer(429, ""), uninvoiced(), "throttled"),
        ("no such order", GONE, uninvoiced(), "not_found"),
    ],
)
def test_the_answer_to_a_cancel(_case: str, response: Any, after: Any, wanted: Any) -> None:
    shop = Shop(order=[uninvoiced(), after], cancel=response)
    said = shop.connector.cancel_order(CANCEL)
    if isinstance(wanted, str):
        assert getattr(said, "code", said) == wanted
    else:
        assert isinstance(said, wanted), said
    assert shop.calls[:3] == ["order", "comment", "cancel"]


@pytest.mark.parametrize(
    ("_case", "value", "command", "code"),
    [
        ("invoiced", order(), CANCEL, "invoiced"),
        ("on hold", uninvoiced(state="holded"), CANCEL, "not_cancellable"),
        ("not there", GONE, CANCEL, "not_found"),
    ],
)
def test_what_cannot_be_cancelled_whole_is_not_touched(
    _case: str, value: Any, command: CancelOrder, code: str
) -> None:
    shop = Shop(order=value)
    said = shop.connector.cancel_order(command)
    assert isinstance(said, Permanent)
    assert said.code == code
    assert shop.calls == ["order"]


def test_a_cancel_is_marked_once_and_not_sent_where_it_is_done() -> None:
    mark = f"refundflow {CANCEL.step_key} cancel"
    again = Shop(order=[uninvoiced(**noted(mark)), cancelled(**noted(mark))])
    assert isinstance(again.connector.cancel_order(CANCEL), Done)
    assert again.calls == ["order", "cancel", "order"]
    done = Shop(order=cancelled(**noted(mark)))
    assert isinstance(done.connector.cancel_order(CANCEL), Done)
    assert done.calls == ["order"]


@pytest.mark.parametrize(
    ("_case", "value", "wanted"),
    [
        ("by us", cancelled(**noted(f"refundflow {CANCEL.step_key} cancel")), Done),
        ("by somebody else", cancelled(), AlreadyDone),
        ("refunded instead", refunded(), AlreadyDone),
        ("not yet", uninvoiced(), NotFound),
        ("only a part", order(items=[item(qty_canceled=1)]), Permanent),
        ("no order", GONE, Unknown),
        ("no answer", answer(500, ""), Retryable),
        ("sold by weight", order(items=[item(ordered=Decimal("1.5"))]), Permanent),
    ],
)
def test_finding_a_cancel(_case: str, value: Any, wanted: type) -> None:
    found = Shop(order=value).connector.find_cancel_order(CANCEL)
    assert isinstance(found, wanted), found
    if isinstance(found, NotFound):
        assert found.conclusive_after_s == SETTLED_S


# ---------------------------------------------------------------- stock


@pytest.mark.parametrize(
    ("_case", "answers", "command", "wanted"),
    [
        ("by a cancel", {"order": cancelled()}, RESTOCK, Done),
        ("by a memo", {"memos": listed(memo())}, RESTOCK, Done),
        ("by a cancelled memo", {"memos": listed(memo(state=3))}, RESTOCK, "restock_unproven"),
        ("by a memo without these units", {"memos": listed(memo(items=[]))}, RESTOCK, "not_restocked"),
        ("by nothing", {}, RESTOCK, "restock_unproven"),
        ("by no step", {}, replace(RESTOCK, carried_by=""), "no_call"),
        ("no answer", {"memos": answer(500, "")}, RESTOCK, Retryable),
        ("no order", {"order": GONE}, RESTOCK, Unknown),
    ],
)
def test_a_restock_is_only_proved(_case: str, answers: Any, command: Restock, wanted: Any) -> None:
    shop = Shop(**answers)
    said = shop.connector.restock(command)
    if isinstance(wanted, str):
        assert getattr(said, "code", said) == wanted
    else:
        assert isinstance(said, wanted), said
    assert {request.method for request in shop.http.requests} <= {"GET"}


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"message": "%1 of %2", "parameters": ["a", "b"]}, "a of b"),
        ({"message": '"%fieldName" is required', "parameters": {"fieldName": "id"}}, '"id" is required'),
        ({"message": "%resources and %1", "parameters": {"resources": "x"}}, "x and %1"),
        ({"message": "two\n  lines"}, "two lines"),
        ({"message": 7}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_an_errors_parameters_are_put_in(value: Any, wanted: str) -> None:
    assert error_text(value) == wanted


def test_nothing_of_a_customer_is_kept() -> None:
    made: dict[str, Any] = FakeWireOf(signing()).made
    http = RequestsWire(LocalPacer()).http(**made)
    assert isinstance(http, RequestsHttp)
    personal = order(
        remote_ip="203.0.113.7",
        customer_dob="1980-01-01",
        customer_taxvat="DE123",
        billing_address={"street": ["Main Street 1"], "telephone": "0301234567", "postcode": "10115"},
        payment={"method": "x", "cc_last4": "4242", "cc_owner": "J DOE", "additional_information": ["tok_9"]},
    )
    with record_exchanges() as exchanges:
        request = Request("GET", "/rest/V1/orders/7", "magento.read_order")
        _record(
            request, "https://shop.example/x", http.headers, http.redaction, answer(200, personal), 0.0, ""
        )
    kept = json.dumps([each.response_body for each in exchanges], default=str)
    for word in (
        "jane@",
        "Jane",
        "Doe",
        "203.0",
        "1980",
        "DE123",
        "Main Street",
        "0301",
        "10115",
        "4242",
        "tok_9",
    ):
        assert word not in kept, word
    assert "000000123" in kept


class FakeWireOf:
    def __init__(self, credentials: Credentials) -> None:
        wire = FakeWire()
        build(credentials, wire)
        (self.made,) = wire.made


# ---------------------------------------------------------------- polling and reading what it found


def test_a_look_asks_for_what_changed_behind_the_last_row() -> None:
    request = changes_request(read_cursor("2026-11-25 11:00:00|41", NOW))
    params = dict(request.params)
    head = "searchCriteria[filterGroups]"
    told = {
        name.removeprefix(head).replace("[filters]", ""): value
        for name, value in params.items()
        if name.startswith(head)
    }
    assert told == {
        "[0][0][field]": "updated_at",
        "[0][0][value]": "2026-11-25 11:00:00",
        "[0][0][conditionType]": "gteq",
        "[1][0][field]": "updated_at",
        "[1][0][value]": "2026-11-25 11:00:00",
        "[1][0][conditionType]": "gt",
        "[1][1][field]": "entity_id",
        "[1][1][value]": "41",
        "[1][1][conditionType]": "gt",
        "[2][0][field]": "state",
        "[2][0][value]": "canceled",
        "[2][0][conditionType]": "eq",
        "[2][1][field]": "total_refunded",
        "[2][1][value]": "0",
        "[2][1][conditionType]": "gt",
    }
    assert [v for n, v in request.params if "direction" in n] == ["ASC", "ASC"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "2026-11-25 11:00:00", "2026-11-25|1", "2026-99-25 11:00:00|1", "|"]
)
def test_without_a_cursor_of_use_a_look_begins_a_day_back(cursor: str) -> None:
    assert str(read_cursor(cursor, NOW)) == "2026-11-24 12:00:00|0"


@pytest.mark.parametrize(
    ("_case", "cursor", "response", "wanted", "has_more"),
    [
        ("nothing new", "2026-11-25 11:00:00|0", listed(), "2026-11-25 11:00:00|0", False),
        ("nothing new for long", "2026-11-01 11:00:00|0", listed(), "2026-11-24 12:00:00|0", False),
        ("one", "2026-11-25 09:00:00|0", listed(cancelled()), "2026-11-25 09:55:00|0", False),
        (
            "more than a page",
            "2026-11-25 09:00:00|0",
            answer(200, {"items": [cancelled()], "total_count": 2}),
            "2026-11-25 10:00:00|7",
            True,
        ),
    ],
)
def test_where_the_next_look_begins(
    _case: str, cursor: str, response: Response, wanted: str, has_more: bool
) -> None:
    found = Shop(orders=response).connector.poll(cursor, NOW)
    assert isinstance(found, Polled)
    assert (found.cursor, found.has_more) == (wanted, has_more)


@pytest.mark.parametrize(
    ("_case", "response"),
    [
        ("a list of wrong things", listed(3)),
        ("an order without time", listed(cancelled(updated_at=None))),
        ("an order without number", listed(cancelled(increment_id=None))),
        ("a page", answer(200, "<html>")),
        ("cut short", answer(200, {"items": [], "total_count": 3})),
    ],
)
def test_a_look_that_cannot_be_read_moves_no_cursor(_case: str, response: Response) -> None:
    assert isinstance(Shop(orders=response).connector.poll("", NOW), Unknown)


ORDER_7 = OrderRef("magento", "7", "000000123")


@pytest.mark.parametrize(
    ("_case", "value", "event_id", "wanted"),
    [
        ("cancelled", cancelled(), "order:7:cancelled", OrderCancelledElsewhere(ORDER_7)),
        ("taken back by a person", refunded(), "order:7:refunded:42.5", OrderCancelledElsewhere(ORDER_7)),
        (
            "taken back by us",
            refunded(**noted(MARK)),
            "order:7:refunded:42.5",
            PaymentRefundsChanged("magento", "", ORDER_7),
        ),
        (
            "taken back by us and a person",
            refunded(**noted(MARK.replace("42.50", "10.00"))),
            "order:7:refunded:42.5",
            OrderCancelledElsewhere(ORDER_7),
        ),
        (
            "taken back by us at the second try",
            refunded(**noted(MARK.replace("42.50", "21.25"), MARK.replace("42.50", "21.25"))),
            "order:7:refunded:42.5",
            OrderCancelledElsewhere(ORDER_7),
        ),
        (
            "refunded after it was shipped",
            refunded(items=[item(qty_refunded=2, qty_shipped=2)]),
            "order:7:refunded:42.5",
            PaymentRefundsChanged("magento", "", ORDER_7),
        ),
        (
            "a part refunded",
            order(total_refunded=10),
            "order:7:refunded:10",
            PaymentRefundsChanged("magento", "", ORDER_7),
        ),
        (
            "sold by weight, taken back",
            refunded(items=[item(ordered=Decimal("1.5"), qty_refunded=Decimal("1.5"))]),
            "order:7:refunded:42.5",
            OrderCancelledElsewhere(ORDER_7),
        ),
    ],
)
def test_what_a_look_finds_is_read(_case: str, value: Any, event_id: str, wanted: Reading) -> None:
    found = Shop(orders=listed(value)).connector.poll("", NOW)
    assert isinstance(found, Polled)
    (event,) = found.events
    assert event.source_event_id == event_id
    assert MagentoInbound().read_event(event.topic, event.body) == wanted
    assert b"jane" not in event.body.lower()


@pytest.mark.parametrize(
    ("topic", "body", "field"),
    [
        (CANCELLED, b"no JSON", "body"),
        (CANCELLED, b"[]", "body"),
        (REFUNDED, b"{}", "order_id"),
        (REFUNDED, b'{"order_id": 7, "number": "1"}', "order_id"),
        (CANCELLED, b'{"order_id": "7", "number": ""}', "number"),
    ],
)
def test_a_stored_event_that_cannot_be_read_names_its_field(topic: str, body: bytes, field: str) -> None:
    with pytest.raises(MalformedError) as told:
        MagentoInbound().read_event(topic, body)
    assert told.value.field == field


def test_other_topics_are_irrelevant() -> None:
    body = b'{"order_id": "7", "number": "1"}'
    assert isinstance(MagentoInbound().read_event("order.shipped", body), Irrelevant)


def test_nothing_that_is_delivered_is_believed() -> None:
    headers = {"x-adobe-digital-signature-1": "x", "authorization": "Bearer x"}
    assert isinstance(MagentoInbound().verify(Delivery(headers, b"{}"), NOW), Refused)
