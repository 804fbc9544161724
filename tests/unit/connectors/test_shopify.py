"""Shopify: what is sent for each effect, what an answer is taken for, how refusals are settled by looking, and deliveries."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.connectors.base import Health
from refundflow.connectors.shopify import (
    CANCEL,
    CANCEL_BEFORE_2026_10,
    DISPUTE,
    NOTES,
    ORDER,
    ORDER_LINES,
    ORDERS_BY_NAME,
    PAYMENT,
    QUOTE,
    REFUND,
    REFUND_CREATE,
    SPEC,
    Credentials,
    Shopify,
    ShopifyInbound,
    build,
    refund_key,
    step_key_in,
)
from refundflow.domain import commands
from refundflow.domain.commands import CancelLines, CancelOrder, Restock
from refundflow.domain.facts import (
    DisputeState,
    LineQuantity,
    OrderFacts,
    OrderLine,
    OrderPayment,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
)
from refundflow.domain.ids import StepKey
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Pending, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Response
from refundflow.transport.signatures import sign_base64
from tests.support.fake_http import FakeHttp, FakeWire, answer

CANCEL_STEP = StepKey("RF-01JQZ7K3M0ABCDE.cancel_order.1")
RESTOCK_STEP = StepKey("RF-01JQZ7K3M0ABCDE.restock.1")
REFUND_STEP = StepKey("RF-01JQZ7K3M0ABCDE.refund.1")
ORDER_ID = "gid://shopify/Order/1001"
LAMP = "gid://shopify/LineItem/11"
BULB = "gid://shopify/LineItem/12"
SALE = "gid://shopify/OrderTransaction/77"
REFUND_ID = "gid://shopify/Refund/501"
PATH = "POST /admin/api/2026-10/graphql.json"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NO_ORDER = "Shopify shows no such order: it is not in this shop, or it is older than 60 days and the app lacks read_all_orders"


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def key_of(step_key: str) -> str:
    return f"refundflow:{step_key}:1"


CANCEL_ORDER = CancelOrder(
    step_key=CANCEL_STEP, key=key_of(CANCEL_STEP), order_id=ORDER_ID, reason="customer", restock=True
)
CANCEL_LINES = CancelLines(
    step_key=CANCEL_STEP,
    key=key_of(CANCEL_STEP),
    order_id=ORDER_ID,
    currency="EUR",
    lines=(LineQuantity(LAMP, 1),),
    restock=True,
    location="gid://shopify/Location/5",
)
RESTOCK = Restock(
    step_key=RESTOCK_STEP,
    key=key_of(RESTOCK_STEP),
    order_id=ORDER_ID,
    currency="EUR",
    lines=(LineQuantity(LAMP, 1),),
)
CARRIED = replace(RESTOCK, carried_by=CANCEL_STEP)
RETURNED = replace(RESTOCK, is_return=True)
GIVE_BACK = commands.Refund(
    step_key=REFUND_STEP,
    key=key_of(REFUND_STEP),
    order_id=ORDER_ID,
    order_number="#1001",
    payment_reference=SALE,
    gateway="shopify_payments",
    amount=eur(4190),
)


# --- answers as Shopify writes them -------------------------------------------------------------------------


def bag(amount: str, currency: str = "EUR") -> dict[str, Any]:
    return {"presentmentMoney": {"amount": amount, "currencyCode": currency}}


def line(line_id: str = LAMP, **changes: Any) -> dict[str, Any]:
    return {
        "id": line_id,
        "sku": "LAMP-1",
        "name": "Desk lamp - black",
        "currentQuantity": 2,
        "unfulfilledQuantity": 2,
        "refundableQuantity": 2,
        "discountedUnitPriceSet": bag("18.25"),
    } | changes


def page(*nodes: object, cursor: str | None = None) -> dict[str, Any]:
    return {"nodes": list(nodes), "pageInfo": {"hasNextPage": cursor is not None, "endCursor": cursor}}


def nodes(*found: object, has_more: bool = False) -> dict[str, Any]:
    return {"nodes": list(found), "pageInfo": {"hasNextPage": has_more}}


def transaction(transaction_id: str = SALE, **changes: Any) -> dict[str, Any]:
    return {
        "id": transaction_id,
        "kind": "SALE",
        "status": "SUCCESS",
        "gateway": "shopify_payments",
        "amountSet": bag("41.90"),
        "parentTransaction": None,
    } | changes


def paid(transaction_id: str = SALE, **changes: Any) -> dict[str, Any]:
    """A transaction as an order's read shows it, with what the gateway attached."""
    return transaction(transaction_id, paymentId="rQxN1fzfaEwSUMdM.1", receiptJson=None) | changes


def refund_move(**changes: Any) -> dict[str, Any]:
    defaults = {"kind": "REFUND", "parentTransaction": {"id": SALE}}
    return transaction("gid://shopify/OrderTransaction/78", **(defaults | changes))


def refunded_line(line_id: str = LAMP, **changes: Any) -> dict[str, Any]:
    return {
        "quantity": 1,
        "restockType": "CANCEL",
        "restocked": True,
        "lineItem": {"id": line_id},
    } | changes


def order(**changes: Any) -> dict[str, Any]:
    return {
        "id": ORDER_ID,
        "name": "#1001",
        "createdAt": "2026-11-20T09:30:00Z",
        "cancelledAt": None,
        "email": "buyer@example.com",
        "test": False,
        "returnStatus": "NO_RETURN",
        "presentmentCurrencyCode": "EUR",
        "totalPriceSet": bag("41.90"),
        "lineItems": page(line(), line(BULB, sku=None, name="Bulb", discountedUnitPriceSet=bag("5.4"))),
        "transactions": [paid()],
    } | changes


def noted(*refunds: tuple[str, str | None], **changes: Any) -> dict[str, Any]:
    return {
        "id": ORDER_ID,
        "cancelledAt": None,
        "cancellation": None,
        "refunds": [{"id": refund_id, "note": note} for refund_id, note in refunds],
    } | changes


def cancelled(staff_note: str | None) -> dict[str, Any]:
    return noted(cancelledAt="2026-11-23T11:59:00Z", cancellation={"staffNote": staff_note})


def lines_refund(*lines: object, **changes: Any) -> dict[str, Any]:
    return {
        "id": REFUND_ID,
        "note": f"refundflow {CANCEL_STEP}",
        "transactions": nodes(),
        "refundLineItems": nodes(*lines),
    } | changes


def money_refund(*moves: object, **changes: Any) -> dict[str, Any]:
    return {"id": REFUND_ID, "note": f"refundflow {REFUND_STEP}", "transactions": nodes(*moves)} | changes


def book(*refunds: object, **changes: Any) -> dict[str, Any]:
    return {
        "id": ORDER_ID,
        "name": "#1001",
        "transactions": [transaction()],
        "refunds": list(refunds),
        "disputes": [],
    } | changes


def dispute(status: str, kind: str = "CHARGEBACK", number: int = 9) -> dict[str, Any]:
    return {"id": f"gid://shopify/OrderDisputeSummary/{number}", "initiatedAs": kind, "status": status}


def data(**fields: Any) -> Response:
    return answer(200, {"data": fields})


def of_order(node: object) -> Response:
    return data(order=node)


def cancel_payload(**changes: Any) -> dict[str, Any]:
    return {
        "job": {"id": "gid://shopify/Job/j1", "done": False},
        "jobResult": {"id": "gid://shopify/OrderCancelJobResult/j1", "status": "STARTED", "errors": []},
        "orderCancelUserErrors": [],
    } | changes


def cancel_refused(code: str | None, message: str = "Cannot be cancelled") -> dict[str, Any]:
    error = {"code": code, "field": ["orderId"], "message": message}
    return cancel_payload(job=None, jobResult=None, orderCancelUserErrors=[error])


def job_ended(status: str, *errors: object) -> dict[str, Any]:
    result = {"id": "gid://shopify/OrderCancelJobResult/j1", "status": status, "errors": list(errors)}
    return cancel_payload(jobResult=result)


def created(refund: object) -> Response:
    return data(refundCreate={"refund": refund, "userErrors": []})


def create_refused(message: str, field: list[str] | None = None) -> Response:
    return data(refundCreate={"refund": None, "userErrors": [{"field": field, "message": message}]})


def created_money(*moves: object, **changes: Any) -> Response:
    return created(money_refund(*moves, refundLineItems=nodes()) | changes)


def failed(code: str | None, path: list[Any] | None = None, **body: Any) -> Response:
    error: dict[str, Any] = {"message": "It did not work"}
    error |= {"extensions": {"code": code}} if code else {}
    error |= {"path": path} if path else {}
    return answer(200, {"errors": [error]} | body)


ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    # The answers that these tests are played with, held against the published schema in tests/contract/.
    "an order": (ORDER, {"order": order()}),
    "an order with receipts": (ORDER, {"order": order(transactions=[paid(receiptJson={"id": "pi_1"})])}),
    "more lines": (ORDER_LINES, {"order": {"id": ORDER_ID, "lineItems": page(line(), cursor="c2")}}),
    "orders by name": (ORDERS_BY_NAME, {"orders": nodes({"id": ORDER_ID, "name": "#1001"})}),
    "a quote": (QUOTE, {"order": {"id": ORDER_ID, "suggestedRefund": {"amountSet": bag("18.25")}}}),
    "notes": (NOTES, {"order": noted((REFUND_ID, None), (REFUND_ID, "refundflow x"))}),
    "a cancelled order": (NOTES, {"order": cancelled("refundflow x")}),
    "a refund of lines": (REFUND, {"refund": lines_refund(refunded_line())}),
    "the money of an order": (
        PAYMENT,
        {"order": book(money_refund(refund_move()), disputes=[dispute("NEEDS_RESPONSE")])},
    ),
    "a dispute": (
        DISPUTE,
        {
            "dispute": {
                "id": "gid://shopify/ShopifyPaymentsDispute/9",
                "status": "UNDER_REVIEW",
                "type": "INQUIRY",
                "order": {"id": ORDER_ID},
            }
        },
    ),
    "a started cancel": (CANCEL, {"orderCancel": cancel_payload()}),
    "a cancel that is over": (CANCEL, {"orderCancel": job_ended("SUCCEEDED")}),
    "a failed cancel": (
        CANCEL,
        {"orderCancel": job_ended("FAILED", {"code": "INTERNAL_ERROR", "message": "x"})},
    ),
    "a refused cancel": (CANCEL, {"orderCancel": cancel_refused("INVALID")}),
    "a refused cancel without a code": (CANCEL, {"orderCancel": cancel_refused(None)}),
    "a refund": (
        REFUND_CREATE,
        {"refundCreate": {"refund": lines_refund(refunded_line(), transactions=nodes(refund_move())), "userErrors": []}},
    ),
    "a refused refund": (
        REFUND_CREATE,
        {"refundCreate": {"refund": None, "userErrors": [{"field": ["input"], "message": "x"}]}},
    ),
}  # fmt: skip


def sent(vendor: FakeHttp, index: int = 0) -> tuple[str, dict[str, Any]]:
    """The document and the variables of a call."""
    body = vendor.requests[index].json
    return body["query"], body["variables"]


# --- reading an order ---------------------------------------------------------------------------------------

FACTS = OrderFacts(
    platform="shopify",
    order_id=ORDER_ID,
    number="#1001",
    created_at=datetime(2026, 11, 20, 9, 30, tzinfo=UTC),
    currency="EUR",
    total=eur(4190),
    email="buyer@example.com",
    lines=(
        OrderLine(LAMP, "LAMP-1", "Desk lamp - black", 2, 2, 2, eur(1825)),
        OrderLine(BULB, "", "Bulb", 2, 2, 2, eur(540)),
    ),
    payments=(OrderPayment(SALE, "shopify_payments", "", True, eur(4190)),),
)


@pytest.mark.parametrize("order_id", [ORDER_ID, "1001"])
def test_an_order_is_read_by_its_id_in_either_form(order_id: str) -> None:
    vendor = FakeHttp(of_order(order()))

    assert Shopify(vendor).read_order(OrderRef("shopify", order_id)) == FACTS
    assert vendor.calls == [PATH]
    assert sent(vendor) == (ORDER, {"id": ORDER_ID})


def test_an_order_of_several_pages_is_read_to_its_last_line() -> None:
    vendor = FakeHttp(
        of_order(order(lineItems=page(line(), cursor="c1"))),
        of_order({"id": ORDER_ID, "lineItems": page(line("gid://shopify/LineItem/13"), cursor="c2")}),
        of_order({"id": ORDER_ID, "lineItems": page(line("gid://shopify/LineItem/14"))}),
    )

    read = Shopify(vendor).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert [each.line_id[-2:] for each in read.lines] == ["11", "13", "14"]
    assert sent(vendor, 1) == (ORDER_LINES, {"id": ORDER_ID, "after": "c1"})
    assert sent(vendor, 2) == (ORDER_LINES, {"id": ORDER_ID, "after": "c2"})


def test_pages_without_end_are_not_read_for_ever() -> None:
    same = of_order({"id": ORDER_ID, "lineItems": page(line(), cursor="c1")})
    vendor = FakeHttp(of_order(order(lineItems=page(line(), cursor="c1"))), always=same)

    read = Shopify(vendor).read_order(OrderRef("shopify", ORDER_ID))

    assert read == Unknown(f"the lines of order {ORDER_ID} do not come to an end")
    assert len(vendor.requests) == 21


@pytest.mark.parametrize(
    ("number", "query"),
    [
        ("#1001", 'name:"#1001"'),
        ("1001", 'name:"1001" OR name:"#1001"'),
        ('1" OR name:"2\\', 'name:"1\\" OR name:\\"2\\\\" OR name:"#1\\" OR name:\\"2\\\\"'),
    ],
)
def test_a_number_is_searched_for_as_a_phrase(number: str, query: str) -> None:
    vendor = FakeHttp(data(orders=nodes()))

    assert Shopify(vendor).read_order(OrderRef("shopify", number=number)) == NotFound(0.0, NO_ORDER)
    assert sent(vendor) == (ORDERS_BY_NAME, {"query": query})


@pytest.mark.parametrize("number", ["1001", "#1001"])
def test_a_similar_number_is_not_the_order(number: str) -> None:
    found = nodes({"id": "gid://shopify/Order/7", "name": "#1001-A"}, {"id": ORDER_ID, "name": "#1001"})
    vendor = FakeHttp(data(orders=found), of_order(order()))

    assert Shopify(vendor).read_order(OrderRef("shopify", number=number)) == FACTS
    assert sent(vendor, 1) == (ORDER, {"id": ORDER_ID})


@pytest.mark.parametrize(
    ("_case", "found", "told"),
    [
        (
            "two of one name",
            nodes({"id": ORDER_ID, "name": "#1001"}, {"id": "gid://shopify/Order/7", "name": "1001"}),
            f"several orders answer to 1001: {ORDER_ID}, gid://shopify/Order/7",
        ),
        (
            "more pages",
            nodes({"id": "gid://shopify/Order/7", "name": "#7"}, has_more=True),
            "several orders answer to 1001: more than one page of them",
        ),
    ],
)
def test_an_ambiguous_number_goes_to_a_person(_case: str, found: object, told: str) -> None:
    vendor = FakeHttp(data(orders=found))

    assert Shopify(vendor).read_order(OrderRef("shopify", number="1001")) == Permanent("ambiguous", told)
    assert len(vendor.requests) == 1


def test_a_reference_that_names_nothing_is_not_asked_for() -> None:
    vendor = FakeHttp()

    assert isinstance(Shopify(vendor).read_order(OrderRef("shopify")), Permanent)
    assert vendor.requests == []


def test_an_order_that_is_not_shown_may_be_absent_or_too_old() -> None:
    assert Shopify(FakeHttp(of_order(None))).read_order(OrderRef("shopify", "1")) == NotFound(0.0, NO_ORDER)


@pytest.mark.parametrize(
    ("_case", "changes", "expected"),
    [
        ("cancelled", {"cancelledAt": "2026-11-23T10:00:00+01:00"}, {"cancelled_at": datetime(2026, 11, 23, 9, tzinfo=UTC)}),
        ("no e-mail", {"email": None}, {"email": ""}),
        ("a test", {"test": True}, {"is_test": True}),
        ("return asked for", {"returnStatus": "RETURN_REQUESTED"}, {"is_return_open": True}),
        ("return under way", {"returnStatus": "IN_PROGRESS"}, {"is_return_open": True}),
        ("return inspected", {"returnStatus": "INSPECTION_COMPLETE"}, {"is_return_open": True}),
        ("return state unheard of", {"returnStatus": "NEW_WORD"}, {"is_return_open": True}),
        ("return over", {"returnStatus": "RETURNED"}, {"is_return_open": False}),
        ("return failed", {"returnStatus": "RETURN_FAILED"}, {"is_return_open": False}),
        ("no payment", {"transactions": []}, {"payments": ()}),
    ],
)  # fmt: skip
def test_what_an_order_says_reaches_the_facts(_case: str, changes: Any, expected: Any) -> None:
    read = Shopify(FakeHttp(of_order(order(**changes)))).read_order(OrderRef("shopify", ORDER_ID))

    assert read == replace(FACTS, **expected)


def test_a_unit_price_with_more_decimals_is_rounded_because_it_is_only_shown() -> None:
    lines = page(line(discountedUnitPriceSet=bag("6.33333")), line(BULB, discountedUnitPriceSet=bag("0.005")))
    read = Shopify(FakeHttp(of_order(order(lineItems=lines)))).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert [each.unit for each in read.lines] == [eur(633), eur(1)]


def test_yen_are_read_without_decimals() -> None:
    node = order(
        presentmentCurrencyCode="JPY",
        totalPriceSet=bag("4190.0", "JPY"),
        lineItems=page(line(discountedUnitPriceSet=bag("1825.0", "JPY"))),
        transactions=[paid(amountSet=bag("4190.0", "JPY"))],
    )
    read = Shopify(FakeHttp(of_order(node))).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert (read.total, read.lines[0].unit, read.payments[0].amount) == (
        Money(4190, "JPY"),
        Money(1825, "JPY"),
        Money(4190, "JPY"),
    )


AUTH = "gid://shopify/OrderTransaction/70"


def captured(of: str = AUTH, **changes: Any) -> dict[str, Any]:
    return paid(kind="CAPTURE", parentTransaction={"id": of}) | changes


@pytest.mark.parametrize(
    ("_case", "booked", "expected"),
    [
        ("a sale", [paid()], [(SALE, True, 4190)]),
        ("an authorisation", [paid(AUTH, kind="AUTHORIZATION")], [(AUTH, False, 4190)]),
        ("one by card reader", [paid(AUTH, kind="EMV_AUTHORIZATION")], [(AUTH, False, 4190)]),
        ("captured", [paid(AUTH, kind="AUTHORIZATION"), captured()], [(SALE, True, 4190)]),
        (
            "captured in part",
            [paid(AUTH, kind="AUTHORIZATION"), captured(amountSet=bag("10.00"))],
            [(SALE, True, 1000)],
        ),
        (
            "capture failed",
            [paid(AUTH, kind="AUTHORIZATION"), captured(status="FAILURE")],
            [(AUTH, False, 4190)],
        ),
        ("voided", [paid(AUTH, kind="AUTHORIZATION"), captured(kind="VOID")], []),
        ("failed", [paid(status="FAILURE"), paid(status="ERROR")], []),
        ("not there yet", [paid(status="PENDING"), paid(status="AWAITING_RESPONSE")], []),
        ("refunded", [paid(), paid("gid://shopify/OrderTransaction/78", kind="REFUND")], [(SALE, True, 4190)]),
        ("change given", [paid(), paid("gid://shopify/OrderTransaction/78", kind="CHANGE")], [(SALE, True, 4190)]),
    ],
)  # fmt: skip
def test_each_money_is_told_once(_case: str, booked: list[Any], expected: list[Any]) -> None:
    read = Shopify(FakeHttp(of_order(order(transactions=booked)))).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert [(p.transaction_id, p.is_captured, p.amount.minor) for p in read.payments] == expected


@pytest.mark.parametrize(
    ("payment_id", "receipt", "expected"),
    [
        ("pi_3Abc", {"id": "pi_other"}, "pi_3Abc"),
        ("ch_3Abc", None, "ch_3Abc"),
        ("rQxN1fzfaEwSUMdM.1", {"payment_intent_id": "pi_1", "charge": "ch_1"}, "pi_1"),
        (None, {"charge": "ch_1", "payment_intent": "pi_2"}, "pi_2"),
        (None, {"payment_intent": {"id": "pi_3"}, "id": "ch_9"}, "pi_3"),
        (None, {"charge": "ch_1", "id": "x"}, "ch_1"),
        (None, {"charge": {"id": "ch_2"}}, "ch_2"),
        (None, {"id": "5O190127TN364715T"}, "5O190127TN364715T"),
        (None, '{"payment_intent_id": "pi_4"}', "pi_4"),
        (None, "no json", ""),
        (None, {"charge": None, "id": 7}, ""),
        (None, ["pi_1"], ""),
        (None, None, ""),
        ("rQxN1fzfaEwSUMdM.1", {}, ""),
    ],
)
def test_the_providers_id_is_taken_where_it_is_told(
    payment_id: object, receipt: object, expected: str
) -> None:
    node = order(transactions=[paid(paymentId=payment_id, receiptJson=receipt)])
    read = Shopify(FakeHttp(of_order(node))).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert [p.provider_reference for p in read.payments] == [expected]


def test_a_capture_has_the_providers_id_of_its_authorisation() -> None:
    booked = [paid(AUTH, kind="AUTHORIZATION", paymentId="pi_1"), captured(paymentId=None)]
    read = Shopify(FakeHttp(of_order(order(transactions=booked)))).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, OrderFacts)
    assert [p.provider_reference for p in read.payments] == ["pi_1"]


@pytest.mark.parametrize(
    ("_case", "node"),
    [
        ("no name", order(name=None)),
        ("a time without zone", order(createdAt="2026-11-20T09:30:00")),
        ("a month too many", order(createdAt="2026-13-20T09:30:00Z")),
        ("cancelled at no time", order(cancelledAt="yesterday")),
        ("total in dollars", order(totalPriceSet=bag("41.90", "USD"))),
        ("a line in dollars", order(lineItems=page(line(discountedUnitPriceSet=bag("1.00", "USD"))))),
        ("a payment in dollars", order(transactions=[paid(amountSet=bag("41.90", "USD"))])),
        ("an amount as a number", order(totalPriceSet={"presentmentMoney": {"amount": 41.9, "currencyCode": "EUR"}})),
        ("not an amount", order(totalPriceSet=bag("NaN"))),
        ("a payment with half cents", order(transactions=[paid(amountSet=bag("41.905"))])),
        ("a coin of four letters", order(totalPriceSet=bag("1.00", "USDC"), presentmentCurrencyCode="USDC")),
        ("a line that is null", order(lineItems=page(line(), None))),
        ("lines without an end", order(lineItems={"nodes": [line()]})),
        ("more lines, and no cursor", order(lineItems={"nodes": [], "pageInfo": {"hasNextPage": True, "endCursor": None}})),
        ("a quantity as a text", order(lineItems=page(line(refundableQuantity="2")))),
        ("transactions as an object", order(transactions={})),
        ("as many transactions as were asked for", order(transactions=[paid()] * 50)),
        ("a list", []),
    ],
)  # fmt: skip
def test_an_order_that_cannot_be_read_whole_is_not_read(_case: str, node: object) -> None:
    read = Shopify(FakeHttp(of_order(node))).read_order(OrderRef("shopify", ORDER_ID))

    assert isinstance(read, Unknown)


# --- quotes -------------------------------------------------------------------------------------------------


def test_lines_are_worth_what_shopify_would_give_back() -> None:
    vendor = FakeHttp(of_order({"id": ORDER_ID, "suggestedRefund": {"amountSet": bag("18.25")}}))

    assert Shopify(vendor).quote_lines(FACTS, (LineQuantity("11", 1),)) == eur(1825)
    assert sent(vendor) == (
        QUOTE,
        {"id": ORDER_ID, "lines": [{"lineItemId": LAMP, "quantity": 1, "restockType": "NO_RESTOCK"}]},
    )


@pytest.mark.parametrize(
    ("_case", "node", "expected"),
    [
        ("nothing suggested", {"id": ORDER_ID, "suggestedRefund": None}, Unknown("unreadable suggested refund")),
        ("less than nothing", {"suggestedRefund": {"amountSet": bag("-1.00")}}, Unknown("unreadable suggested refund")),
        (
            "another currency",
            {"suggestedRefund": {"amountSet": bag("18.25", "USD")}},
            Permanent("currency_mismatch", "Shopify suggests 18.25 USD, and the order is in EUR"),
        ),
        ("no order", None, Permanent("NOT_FOUND", NO_ORDER)),
    ],
)  # fmt: skip
def test_a_quote_is_never_guessed(_case: str, node: object, expected: object) -> None:
    assert Shopify(FakeHttp(of_order(node))).quote_lines(FACTS, (LineQuantity(LAMP, 1),)) == expected


# --- cancelling an order ------------------------------------------------------------------------------------


def test_a_cancel_never_gives_money_back_and_tells_nobody() -> None:
    vendor = FakeHttp(data(orderCancel=cancel_payload()))

    assert Shopify(vendor).cancel_order(CANCEL_ORDER) == Pending("gid://shopify/Job/j1", 2.0)
    assert vendor.sent.operation == "shopify.cancel_order"
    assert sent(vendor) == (
        CANCEL,
        {
            "orderId": ORDER_ID,
            "reason": "CUSTOMER",
            "restock": True,
            "notifyCustomer": False,
            "refundMethod": {"originalPaymentMethodsRefund": False},
            "staffNote": f"refundflow {CANCEL_STEP}",
        },
    )


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("customer", "CUSTOMER"), ("declined", "DECLINED"), ("fraud", "FRAUD"), ("inventory", "INVENTORY"),
        ("staff", "STAFF"), ("other", "OTHER"), ("anything", "OTHER"),
    ],
)  # fmt: skip
def test_every_reason_has_shopifys_word(reason: str, word: str) -> None:
    vendor = FakeHttp(data(orderCancel=cancel_payload()))
    Shopify(vendor).cancel_order(replace(CANCEL_ORDER, reason=reason, restock=False))

    variables = sent(vendor)[1]
    assert (variables["reason"], variables["restock"]) == (word, False)


def test_an_older_version_is_not_asked_for_what_it_does_not_know() -> None:
    vendor = FakeHttp(data(orderCancel={"job": {"id": "j1", "done": False}, "orderCancelUserErrors": []}))

    assert Shopify(vendor, "2026-07").cancel_order(CANCEL_ORDER) == Pending("j1", 2.0)
    assert vendor.calls == ["POST /admin/api/2026-07/graphql.json"]
    assert sent(vendor)[0] == CANCEL_BEFORE_2026_10
    assert "jobResult" not in CANCEL_BEFORE_2026_10


OURS = Done(ORDER_ID, "cancelled at 2026-11-23T11:59:00Z; the staff note is ours")
THEIRS = AlreadyDone(ORDER_ID, "cancelled by somebody else at 2026-11-23T11:59:00Z")
NOT_CANCELLED = NotFound(
    60.0, f"{ORDER_ID} is not cancelled: the job has not run yet, was never started, or ran and failed"
)


@pytest.mark.parametrize(
    ("_case", "payload", "node", "expected"),
    [
        ("succeeded, and the order shows it", job_ended("SUCCEEDED"), cancelled(f"refundflow {CANCEL_STEP}"), OURS),
        ("succeeded, and somebody was faster", job_ended("SUCCEEDED"), cancelled("fraud"), THEIRS),
        (
            "succeeded, and the order does not show it yet",
            job_ended("SUCCEEDED"),
            noted(),
            Pending("gid://shopify/OrderCancelJobResult/j1", 2.0),
        ),
        (
            "succeeded, and the order cannot be read",
            job_ended("SUCCEEDED"),
            None,
            Pending("gid://shopify/OrderCancelJobResult/j1", 2.0),
        ),
        ("refused, cancelled before by us", cancel_refused("INVALID"), cancelled(f"refundflow {CANCEL_STEP}"),
         AlreadyDone(OURS.reference, OURS.detail)),
        ("refused, cancelled before by somebody", cancel_refused("INVALID"), cancelled(None), THEIRS),
        ("refused", cancel_refused("INVALID"), noted(), Permanent("INVALID", "orderId: Cannot be cancelled")),
        ("refused without a code", cancel_refused(None), noted(), Permanent("refused", "orderId: Cannot be cancelled")),
        ("no permission", cancel_refused("NO_REFUND_PERMISSION"), noted(),
         Permanent("NO_REFUND_PERMISSION", "orderId: Cannot be cancelled")),
        ("not found", cancel_refused("NOT_FOUND"), noted(),
         Permanent("NOT_FOUND", f"orderId: Cannot be cancelled ({NO_ORDER})")),
        ("trouble over there", cancel_refused("INTERNAL_ERROR"), noted(),
         Retryable("unavailable", "INTERNAL_ERROR: orderId: Cannot be cancelled")),
        ("the job failed", job_ended("FAILED", {"code": "INVALID", "message": "An item was shipped"}), noted(),
         Permanent("INVALID", "An item was shipped")),
        ("the job failed and does not say why", job_ended("FAILED"), noted(),
         Permanent("refused", "the cancel job failed and Shopify does not say why")),
        ("the job failed, and the order is cancelled", job_ended("FAILED"), cancelled("fraud"), THEIRS),
        ("refused, and the order is not shown", cancel_refused("NOT_FOUND"), None,
         Unknown(f"refused (orderId: Cannot be cancelled), and the look did not tell whether it is there: "
                 f"could not look: {NO_ORDER}")),
    ],
)  # fmt: skip
def test_the_order_has_the_last_word_on_its_cancel(
    _case: str, payload: object, node: object, expected: object
) -> None:
    vendor = FakeHttp(data(orderCancel=payload), of_order(node))

    assert Shopify(vendor).cancel_order(CANCEL_ORDER) == expected
    assert sent(vendor, 1) == (NOTES, {"id": ORDER_ID})
    assert vendor.is_drained


@pytest.mark.parametrize("trouble", [NotSentError("paced"), MaybeSentError("cut short")])
def test_a_look_that_was_not_sent_does_not_make_the_cancel_not_sent(trouble: Any) -> None:
    refused = FakeHttp(data(orderCancel=cancel_refused("INVALID")), trouble)
    over = FakeHttp(data(orderCancel=job_ended("SUCCEEDED")), trouble)

    assert isinstance(Shopify(refused).cancel_order(CANCEL_ORDER), Unknown)
    assert isinstance(Shopify(over).cancel_order(CANCEL_ORDER), Pending)


@pytest.mark.parametrize(
    ("_case", "node", "expected"),
    [
        ("ours", cancelled(f"refundflow {CANCEL_STEP}"), OURS),
        ("ours, with words around it", cancelled(f"Please! refundflow {CANCEL_STEP} thanks"), OURS),
        ("of a longer key", cancelled(f"refundflow {CANCEL_STEP}0"), THEIRS),
        ("somebody's", cancelled("Customer called"), THEIRS),
        ("somebody's, without a word", cancelled(None), THEIRS),
        ("without details", noted(cancelledAt="2026-11-23T11:59:00Z"), THEIRS),
        ("not cancelled", noted(), NOT_CANCELLED),
        ("not shown", None, Unknown(f"could not look: {NO_ORDER}")),
        ("unreadable", noted(cancelledAt=7), Unknown("unreadable order")),
        ("unreadable refunds", noted(refunds=None), Unknown("unreadable refunds of the order")),
    ],
)
def test_a_cancel_is_found_on_the_order(_case: str, node: object, expected: object) -> None:
    vendor = FakeHttp(of_order(node))

    assert Shopify(vendor).find_cancel_order(CANCEL_ORDER) == expected
    assert len(vendor.requests) == 1


# --- cancelling lines ---------------------------------------------------------------------------------------


def test_cancelled_lines_are_a_refund_without_money() -> None:
    vendor = FakeHttp(created(lines_refund(refunded_line())))

    assert Shopify(vendor).cancel_lines(CANCEL_LINES) == Done(
        REFUND_ID, f"taken out {{'{LAMP}': 1}}, put back {{'{LAMP}': 1}}"
    )
    assert sent(vendor) == (
        REFUND_CREATE,
        {
            "input": {
                "orderId": ORDER_ID,
                "currency": "EUR",
                "note": f"refundflow {CANCEL_STEP}",
                "notify": False,
                "allowOverRefunding": False,
                "refundLineItems": [
                    {
                        "lineItemId": LAMP,
                        "quantity": 1,
                        "restockType": "CANCEL",
                        "locationId": "gid://shopify/Location/5",
                    }
                ],
            },
            "key": refund_key(key_of(CANCEL_STEP)),
        },
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"restock": False}, {"restockType": "NO_RESTOCK"}),
        ({"location": ""}, {"restockType": "CANCEL"}),
        ({"location": "5"}, {"restockType": "CANCEL", "locationId": "gid://shopify/Location/5"}),
    ],
)
def test_a_location_is_named_only_where_units_go_back(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    vendor = FakeHttp(created(lines_refund(refunded_line())))
    Shopify(vendor).cancel_lines(replace(CANCEL_LINES, **changes))

    assert sent(vendor)[1]["input"]["refundLineItems"] == [{"lineItemId": LAMP, "quantity": 1} | expected]


NOT_REFUNDED = NotFound(30.0)


@pytest.mark.parametrize(
    ("_case", "refund", "code"),
    [
        ("money moved", lines_refund(refunded_line(), transactions=nodes(refund_move())), "amount_mismatch"),
        ("another quantity", lines_refund(refunded_line(quantity=2)), "lines_mismatch"),
        ("another line", lines_refund(refunded_line(BULB)), "lines_mismatch"),
        ("no line", lines_refund(), "lines_mismatch"),
    ],
)
def test_lines_are_compared_with_what_was_asked(_case: str, refund: object, code: str) -> None:
    outcome = Shopify(FakeHttp(created(refund))).cancel_lines(CANCEL_LINES)
    found = Shopify(
        FakeHttp(of_order(noted((REFUND_ID, f"refundflow {CANCEL_STEP}"))), data(refund=refund))
    ).find_cancel_lines(CANCEL_LINES)

    assert isinstance(outcome, Permanent)
    assert outcome.code == code
    assert found == outcome


def test_a_transaction_of_nothing_is_no_money() -> None:
    refund = lines_refund(refunded_line(), transactions=nodes(refund_move(amountSet=bag("0.00"))))

    assert isinstance(Shopify(FakeHttp(created(refund))).cancel_lines(CANCEL_LINES), Done)


def test_cancelled_lines_are_found_by_our_note() -> None:
    other = "gid://shopify/Refund/500"
    vendor = FakeHttp(
        of_order(noted((other, None), (other, f"refundflow {CANCEL_STEP}1"), (REFUND_ID, f"refundflow {CANCEL_STEP}"))),
        data(refund=lines_refund(refunded_line())),
    )  # fmt: skip

    assert isinstance(Shopify(vendor).find_cancel_lines(CANCEL_LINES), Done)
    assert sent(vendor, 1) == (REFUND, {"id": REFUND_ID})


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("none", [of_order(noted())], NOT_REFUNDED),
        ("not shown", [of_order(None)], Unknown(f"could not look: {NO_ORDER}")),
        ("no access", [answer(404)], Unknown("could not look (wrong_shop): Shopify answered 404: check the shop's name and the API version")),
        (
            "two",
            [of_order(noted(("r1", f"refundflow {CANCEL_STEP}"), ("r2", f"refundflow {CANCEL_STEP}")))],
            Permanent("done_twice", f"2 refunds carry {CANCEL_STEP}: r1, r2"),
        ),
        (
            "too many to look at",
            [of_order(noted(*[(REFUND_ID, None)] * 100))],
            Unknown("the order has 100 refunds or more, not all of them can be looked at"),
        ),
        (
            "gone again",
            [of_order(noted((REFUND_ID, f"refundflow {CANCEL_STEP}"))), data(refund=None)],
            Unknown("could not look: Shopify no longer shows the refund"),
        ),
        (
            "unreadable",
            [of_order(noted((REFUND_ID, f"refundflow {CANCEL_STEP}"))), data(refund={"id": REFUND_ID})],
            Unknown("unreadable refund"),
        ),
    ],
)  # fmt: skip
def test_an_absence_of_lines_is_told_with_what_it_proves(_case: str, answers: Any, expected: object) -> None:
    vendor = FakeHttp(*answers)

    assert Shopify(vendor).find_cancel_lines(CANCEL_LINES) == expected
    assert vendor.is_drained


def test_refused_lines_are_looked_up_before_the_refusal_is_believed() -> None:
    there = FakeHttp(
        create_refused("Already done"),
        of_order(noted((REFUND_ID, f"refundflow {CANCEL_STEP}"))),
        data(refund=lines_refund(refunded_line())),
    )
    absent = FakeHttp(create_refused("Too many", ["refundLineItems", "0", "quantity"]), of_order(noted()))

    assert isinstance(Shopify(there).cancel_lines(CANCEL_LINES), Done)
    assert Shopify(absent).cancel_lines(CANCEL_LINES) == Permanent(
        "refused", "refundLineItems.0.quantity: Too many"
    )


def test_a_refusal_without_a_location_says_what_may_be_missing() -> None:
    vendor = FakeHttp(create_refused("Location is needed"), of_order(noted()))

    assert Shopify(vendor).cancel_lines(replace(CANCEL_LINES, location="")) == Permanent(
        "refused", "Location is needed (no location was named: if Shopify wants one, set stock_location)"
    )


# --- restocking ---------------------------------------------------------------------------------------------


def test_a_restock_that_a_cancel_carries_sends_nothing_and_says_what_proves_it() -> None:
    vendor = FakeHttp(of_order(cancelled(f"refundflow {CANCEL_STEP}")))

    assert Shopify(vendor).restock(CARRIED) == Done(
        ORDER_ID,
        f"cancelled with restock by {CANCEL_STEP} at 2026-11-23T11:59:00Z, as cancelledAt and the staff note say; "
        "Shopify tells no quantities here, and units of a deactivated location are not put back",
    )
    assert sent(vendor) == (NOTES, {"id": ORDER_ID})


@pytest.mark.parametrize("is_cancelled_since", [False, True])
def test_a_restock_that_cancelled_lines_carry_is_proven_by_their_refund(is_cancelled_since: bool) -> None:
    node = noted((REFUND_ID, f"refundflow {CANCEL_STEP}"))
    if is_cancelled_since:
        node |= {"cancelledAt": "2026-11-23T11:59:00Z", "cancellation": {"staffNote": "by hand"}}
    vendor = FakeHttp(of_order(node), data(refund=lines_refund(refunded_line())))

    assert isinstance(Shopify(vendor).restock(CARRIED), Done)
    assert [sent(vendor, i)[0] for i in range(2)] == [NOTES, REFUND]


@pytest.mark.parametrize(
    ("_case", "restocked"),
    [
        ("not put back", refunded_line(restocked=False)),
        ("never meant to", refunded_line(restockType="NO_RESTOCK", restocked=True)),
        ("another line", refunded_line(BULB)),
    ],
)
def test_units_that_were_not_put_back_go_to_a_person(_case: str, restocked: object) -> None:
    vendor = FakeHttp(
        of_order(noted((REFUND_ID, f"refundflow {CANCEL_STEP}"))), data(refund=lines_refund(restocked))
    )
    outcome = Shopify(vendor).restock(CARRIED)

    assert isinstance(outcome, Permanent)
    assert outcome.code == "not_restocked"


def test_somebody_elses_cancel_proves_no_restock() -> None:
    outcome = Shopify(FakeHttp(of_order(cancelled("by hand")))).restock(CARRIED)

    assert isinstance(outcome, Permanent)
    assert outcome.code == "restock_unproven"


def test_a_carried_restock_without_a_trace_yet_is_asked_for_again() -> None:
    assert Shopify(FakeHttp(of_order(noted()))).restock(CARRIED) == Retryable(
        "not_there", "no trace of it at the vendor", 5.0
    )
    assert Shopify(FakeHttp(of_order(noted()))).find_restock(CARRIED) == NOT_REFUNDED


def test_returned_goods_are_booked_as_returned_without_money() -> None:
    vendor = FakeHttp(created(lines_refund(refunded_line(restockType="RETURN"))))

    assert isinstance(Shopify(vendor).restock(RETURNED), Done)
    assert sent(vendor)[0] == REFUND_CREATE
    assert sent(vendor)[1]["input"] == {
        "orderId": ORDER_ID,
        "currency": "EUR",
        "note": f"refundflow {RESTOCK_STEP}",
        "notify": False,
        "allowOverRefunding": False,
        "refundLineItems": [{"lineItemId": LAMP, "quantity": 1, "restockType": "RETURN"}],
    }


def test_units_that_never_left_are_put_back_while_they_are_refundable() -> None:
    vendor = FakeHttp(of_order(order()), created(lines_refund(refunded_line())))

    assert isinstance(Shopify(vendor).restock(RESTOCK), Done)
    assert [sent(vendor, i)[0] for i in range(2)] == [ORDER, REFUND_CREATE]
    assert sent(vendor, 1)[1]["input"]["refundLineItems"] == [
        {"lineItemId": LAMP, "quantity": 1, "restockType": "CANCEL"}
    ]


def test_units_that_are_gone_are_not_put_back_again() -> None:
    gone = of_order(order(lineItems=page(line(refundableQuantity=0))))
    absent = FakeHttp(gone, of_order(noted()))
    by_us = FakeHttp(
        gone,
        of_order(noted((REFUND_ID, f"refundflow {RESTOCK_STEP}"))),
        data(refund=lines_refund(refunded_line())),
    )

    assert Shopify(absent).restock(RESTOCK) == Permanent(
        "not_refundable", f"Shopify no longer holds these units: 1 of {LAMP}"
    )
    assert isinstance(Shopify(by_us).restock(RESTOCK), Done)
    assert [sent(v, i)[0] for v in (absent, by_us) for i in range(2)] == [ORDER, NOTES] * 2


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (answer(500), Retryable("unavailable", "Shopify answered 500")),
        (answer(200, "<html>"), Retryable("unreadable", "unreadable answer, status 200")),
        (of_order(None), Permanent("NOT_FOUND", NO_ORDER)),
    ],
)
def test_a_restock_is_not_sent_on_a_read_that_failed(read: Response, expected: object) -> None:
    vendor = FakeHttp(read)

    assert Shopify(vendor).restock(RESTOCK) == expected
    assert len(vendor.requests) == 1


# --- payments -----------------------------------------------------------------------------------------------

PAYMENT_FACTS = PaymentFacts(
    platform="shopify",
    reference=SALE,
    state=PaymentState.CAPTURED,
    authorised=eur(0),
    captured=eur(4190),
    gateway="shopify_payments",
    order_number="#1001",
)


@pytest.mark.parametrize("reference", [SALE, "77"])
def test_a_payment_is_read_with_its_refunds(reference: str) -> None:
    vendor = FakeHttp(of_order(book(money_refund(refund_move(amountSet=bag("10.00"))))))

    assert Shopify(vendor).read_payment("1001", reference) == replace(
        PAYMENT_FACTS, refunds=(RefundFact(REFUND_ID, eur(1000), RefundStatus.SUCCEEDED, REFUND_STEP),)
    )
    assert sent(vendor) == (PAYMENT, {"id": ORDER_ID})


@pytest.mark.parametrize(
    ("_case", "moves", "expected"),
    [
        ("on its way", [refund_move(status="PENDING")], [(RefundStatus.PENDING, 4190)]),
        ("waiting for an answer", [refund_move(status="AWAITING_RESPONSE")], [(RefundStatus.PENDING, 4190)]),
        ("nobody knows", [refund_move(status="UNKNOWN")], [(RefundStatus.PENDING, 4190)]),
        ("failed", [refund_move(status="FAILURE")], [(RefundStatus.FAILED, 4190)]),
        ("in error", [refund_move(status="ERROR")], [(RefundStatus.FAILED, 4190)]),
        ("failed once, then done", [refund_move(status="FAILURE"), refund_move()], [(RefundStatus.SUCCEEDED, 4190)]),
        (
            "half arrived, half on its way",
            [refund_move(amountSet=bag("1.00")), refund_move(amountSet=bag("2.00"), status="PENDING")],
            [(RefundStatus.PENDING, 300)],
        ),
        ("without a parent", [refund_move(parentTransaction=None)], [(RefundStatus.SUCCEEDED, 4190)]),
        ("without a parent, by another gateway", [refund_move(parentTransaction=None, gateway="gift_card")], []),
        ("of another payment", [refund_move(parentTransaction={"id": AUTH})], []),
        ("not a refund", [refund_move(kind="VOID")], []),
        ("lines only", [], []),
    ],
)  # fmt: skip
def test_a_refund_counts_for_the_payment_it_came_from(
    _case: str, moves: list[Any], expected: list[Any]
) -> None:
    facts = Shopify(FakeHttp(of_order(book(money_refund(*moves, note=None))))).read_payment(ORDER_ID, SALE)

    assert isinstance(facts, PaymentFacts)
    assert [(r.status, r.amount.minor) for r in facts.refunds] == expected
    assert [r.step_key for r in facts.refunds] == [""] * len(expected)


def test_a_refund_that_names_the_authorisation_counts_for_its_capture() -> None:
    booked = [
        transaction(AUTH, kind="AUTHORIZATION"),
        transaction(kind="CAPTURE", parentTransaction={"id": AUTH}),
    ]
    node = book(money_refund(refund_move(parentTransaction={"id": AUTH})), transactions=booked)
    facts = Shopify(FakeHttp(of_order(node))).read_payment(ORDER_ID, SALE)

    assert isinstance(facts, PaymentFacts)
    assert (facts.captured, facts.refunded) == (eur(4190), 4190)


@pytest.mark.parametrize(
    ("_case", "booked", "state", "authorised"),
    [
        ("open", [transaction(AUTH, kind="AUTHORIZATION")], PaymentState.AUTHORISED, 4190),
        (
            "captured: the money is told by the capture",
            [transaction(AUTH, kind="AUTHORIZATION"), transaction(kind="CAPTURE", parentTransaction={"id": AUTH})],
            PaymentState.CAPTURED,
            0,
        ),
        (
            "voided",
            [transaction(AUTH, kind="AUTHORIZATION"), transaction(kind="VOID", parentTransaction={"id": AUTH})],
            PaymentState.VOIDED,
            0,
        ),
        ("refused", [transaction(AUTH, kind="AUTHORIZATION", status="FAILURE")], PaymentState.NOT_PAID, 0),
        ("a sale on its way", [transaction(AUTH, status="PENDING")], PaymentState.NOT_PAID, 0),
    ],
)  # fmt: skip
def test_a_payment_without_captured_money_has_nothing_to_refund(
    _case: str, booked: list[Any], state: PaymentState, authorised: int
) -> None:
    facts = Shopify(FakeHttp(of_order(book(transactions=booked)))).read_payment(ORDER_ID, AUTH)

    assert isinstance(facts, PaymentFacts)
    assert (facts.state, facts.authorised, facts.captured) == (state, eur(authorised), eur(0))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("NEEDS_RESPONSE", DisputeState.OPEN), ("UNDER_REVIEW", DisputeState.OPEN), ("WON", DisputeState.WON),
        ("LOST", DisputeState.LOST), ("ACCEPTED", DisputeState.LOST), ("CHARGE_REFUNDED", DisputeState.LOST),
        ("PREVENTED", DisputeState.LOST), ("NEW_WORD", DisputeState.OPEN),
    ],
)  # fmt: skip
def test_every_dispute_status_has_one_state(status: str, state: DisputeState) -> None:
    vendor = FakeHttp(of_order(book(disputes=[dispute(status)])))

    assert Shopify(vendor).read_payment(ORDER_ID, SALE) == replace(
        PAYMENT_FACTS, dispute=state, dispute_reference="gid://shopify/ShopifyPaymentsDispute/9"
    )


def test_the_worst_dispute_counts() -> None:
    disputes = [dispute("WON", number=1), dispute("LOST", number=2), dispute("NEEDS_RESPONSE", number=3)]
    facts = Shopify(FakeHttp(of_order(book(disputes=disputes)))).read_payment(ORDER_ID, SALE)

    assert isinstance(facts, PaymentFacts)
    assert (facts.dispute, facts.dispute_reference) == (
        DisputeState.LOST,
        "gid://shopify/ShopifyPaymentsDispute/2",
    )


def told_dispute(kind: str = "INQUIRY", status: str = "NEEDS_RESPONSE", of: str = ORDER_ID) -> Response:
    return data(dispute={"id": "d", "status": status, "type": kind, "order": {"id": of}})


@pytest.mark.parametrize(
    ("_case", "told", "state"),
    [
        ("still an inquiry", told_dispute(), DisputeState.WARNING),
        ("a chargeback by now", told_dispute("CHARGEBACK"), DisputeState.OPEN),
        ("lost by now", told_dispute("CHARGEBACK", "LOST"), DisputeState.LOST),
        ("of another order", told_dispute(of="gid://shopify/Order/2"), DisputeState.OPEN),
        ("not shown", data(dispute=None), DisputeState.OPEN),
        ("no access", failed("ACCESS_DENIED"), DisputeState.OPEN),
        ("no answer", answer(500), DisputeState.OPEN),
    ],
)
def test_a_dispute_that_began_as_an_inquiry_is_a_warning_only_while_it_is_one(
    _case: str, told: Response, state: DisputeState
) -> None:
    vendor = FakeHttp(of_order(book(disputes=[dispute("NEEDS_RESPONSE", "INQUIRY")])), told)
    facts = Shopify(vendor).read_payment(ORDER_ID, SALE)

    assert isinstance(facts, PaymentFacts)
    assert facts.dispute is state
    assert sent(vendor, 1) == (DISPUTE, {"id": "gid://shopify/ShopifyPaymentsDispute/9"})


@pytest.mark.parametrize(
    ("_case", "node", "expected"),
    [
        ("no such payment", book(transactions=[]), NotFound(0.0, f"order #1001 has no transaction {SALE}")),
        ("no such order", None, NotFound(0.0, NO_ORDER)),
        ("more refunds than asked for", book(*[money_refund()] * 30), Unknown("order #1001 has more transactions or refunds than can be read at once")),
        ("more transactions than asked for", book(transactions=[transaction()] * 50), Unknown("order #1001 has more transactions or refunds than can be read at once")),
        ("a refund with more to it", book(money_refund(transactions=nodes(refund_move(), has_more=True))), Unknown("unreadable transactions, refunds or disputes of order #1001")),
        ("a refund in dollars", book(money_refund(refund_move(amountSet=bag("1.00", "USD")))), Unknown("the transactions of order #1001 are not in one currency")),
        ("a note that is a number", book(money_refund(note=7)), Unknown("unreadable transactions, refunds or disputes of order #1001")),
        ("no word on disputes", book(disputes=None), Unknown("unreadable transactions, refunds or disputes of order #1001")),
        ("refunds as an object", book(refunds={}), Unknown("unreadable order")),
    ],
)  # fmt: skip
def test_a_payment_that_cannot_be_read_whole_is_not_read(_case: str, node: object, expected: object) -> None:
    assert Shopify(FakeHttp(of_order(node))).read_payment(ORDER_ID, SALE) == expected


# --- refunds ------------------------------------------------------------------------------------------------


def test_a_refund_names_its_amount_its_payment_and_nothing_else() -> None:
    vendor = FakeHttp(created_money(refund_move()))

    assert Shopify(vendor).refund(GIVE_BACK) == Done(REFUND_ID)
    assert vendor.calls == [PATH]
    assert sent(vendor) == (
        REFUND_CREATE,
        {
            "input": {
                "orderId": ORDER_ID,
                "currency": "EUR",
                "note": f"refundflow {REFUND_STEP}",
                "notify": False,
                "allowOverRefunding": False,
                "transactions": [
                    {
                        "orderId": ORDER_ID,
                        "parentId": SALE,
                        "kind": "REFUND",
                        "gateway": "shopify_payments",
                        "amount": "41.90",
                    }
                ],
            },
            "key": "7a014905-16e2-5511-8f9e-dec615136d5b",
        },
    )


def test_the_same_intention_always_has_the_same_key_and_another_one_another() -> None:
    vendor = FakeHttp(always=created_money(refund_move()))
    Shopify(vendor).refund(GIVE_BACK)
    Shopify(vendor).refund(GIVE_BACK)
    Shopify(vendor).refund(replace(GIVE_BACK, key=f"refundflow:{REFUND_STEP}:2"))

    keys = [sent(vendor, i)[1]["key"] for i in range(3)]
    assert keys[0] == keys[1]
    assert keys[2] != keys[0]
    assert "@idempotent(key: $key)" in REFUND_CREATE


REFUND_VERDICTS = [
    ("arrived", [refund_move()], Done(REFUND_ID)),
    ("on its way", [refund_move(status="PENDING")], Pending(REFUND_ID)),
    ("waiting for an answer", [refund_move(status="AWAITING_RESPONSE")], Pending(REFUND_ID)),
    ("nobody knows", [refund_move(status="UNKNOWN")], Pending(REFUND_ID)),
    ("failed", [refund_move(status="FAILURE")],
     Permanent("refund_failed", f"{REFUND_ID} exists, and its money did not move")),
    ("in error", [refund_move(status="ERROR")],
     Permanent("refund_failed", f"{REFUND_ID} exists, and its money did not move")),
    ("failed once, then done", [refund_move(status="FAILURE"), refund_move()], Done(REFUND_ID)),
    ("less", [refund_move(amountSet=bag("41.89"))],
     Permanent("amount_mismatch", f"asked for 41.90 EUR, {REFUND_ID} gives back 41.89 EUR")),
    ("less, on its way", [refund_move(amountSet=bag("41.89"), status="PENDING")],
     Permanent("amount_mismatch", f"asked for 41.90 EUR, {REFUND_ID} gives back 41.89 EUR")),
    ("twice", [refund_move(), refund_move()],
     Permanent("amount_mismatch", f"asked for 41.90 EUR, {REFUND_ID} gives back 83.80 EUR")),
    ("no transaction", [], Unknown(f"{REFUND_ID} shows no transaction whose money could be followed")),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "moves", "expected"), REFUND_VERDICTS)
def test_a_refund_is_what_its_transactions_say(_case: str, moves: list[Any], expected: object) -> None:
    answered = Shopify(FakeHttp(created_money(*moves))).refund(GIVE_BACK)
    found = Shopify(FakeHttp(of_order(book(money_refund(*moves))))).find_refund(GIVE_BACK)

    assert answered == expected
    assert found == expected


def test_another_currency_than_asked_for_is_a_mismatch() -> None:
    outcome = Shopify(FakeHttp(created_money(refund_move(amountSet=bag("41.90", "USD"))))).refund(GIVE_BACK)

    assert outcome == Permanent("amount_mismatch", f"asked for 41.90 EUR, {REFUND_ID} gives back 41.90 USD")


OTHER_REFUND = "gid://shopify/Refund/500"


@pytest.mark.parametrize(
    ("_case", "refunds", "expected"),
    [
        ("none", [], NOT_REFUNDED),
        ("somebody's", [money_refund(refund_move(), note="Sorry!")], NOT_REFUNDED),
        ("without a note", [money_refund(refund_move(), note=None)], NOT_REFUNDED),
        ("of a longer key", [money_refund(refund_move(), note=f"refundflow {REFUND_STEP}0")], NOT_REFUNDED),
        ("our key without our name", [money_refund(refund_move(), note=REFUND_STEP)], NOT_REFUNDED),
        ("with words around it", [money_refund(refund_move(), note=f"Sorry! refundflow {REFUND_STEP}\nbye")], Done(REFUND_ID)),
        (
            "failed before, done now",
            [money_refund(refund_move(status="FAILURE"), id=OTHER_REFUND), money_refund(refund_move())],
            Done(REFUND_ID),
        ),
        (
            "paid twice",
            [money_refund(refund_move(), id=OTHER_REFUND), money_refund(refund_move())],
            Permanent("amount_mismatch", f"asked for 41.90 EUR, {OTHER_REFUND}, {REFUND_ID} gives back 41.90 EUR and 41.90 EUR"),
        ),
    ],
)  # fmt: skip
def test_a_refund_is_found_by_our_note_only(_case: str, refunds: list[Any], expected: object) -> None:
    vendor = FakeHttp(of_order(book(*refunds)))

    assert Shopify(vendor).find_refund(GIVE_BACK) == expected
    assert sent(vendor) == (PAYMENT, {"id": ORDER_ID})


def test_a_look_that_does_not_see_the_order_proves_no_absence() -> None:
    assert Shopify(FakeHttp(of_order(None))).find_refund(GIVE_BACK) == Unknown(f"could not look: {NO_ORDER}")
    assert isinstance(Shopify(FakeHttp(answer(404))).find_refund(GIVE_BACK), Unknown)


@pytest.mark.parametrize(
    ("_case", "refusal", "seen", "expected"),
    [
        ("done before", create_refused("Key was used"), [money_refund(refund_move())], Done(REFUND_ID)),
        ("on its way", create_refused("Key was used"), [money_refund(refund_move(status="PENDING"))], Pending(REFUND_ID)),
        ("a plain no", create_refused("Too much", ["transactions", "0", "amount"]), [], Permanent("refused", "transactions.0.amount: Too much")),
        (
            "perhaps still running",
            create_refused("This request is currently in progress, please try again."),
            [],
            Unknown("refused, perhaps because the same call is still running: This request is currently in progress, please try again."),
        ),
        (
            "the key failed before",
            failed("IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", ["refundCreate"], data={"refundCreate": None}),
            [],
            Permanent("IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", "Shopify answered IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED: It did not work"),
        ),
        (
            "the key was used for something else, which is there",
            failed("IDEMPOTENCY_KEY_PARAMETER_MISMATCH"),
            [money_refund(refund_move())],
            Done(REFUND_ID),
        ),
    ],
)  # fmt: skip
def test_a_refused_refund_is_looked_up_before_the_refusal_is_believed(
    _case: str, refusal: Response, seen: list[Any], expected: object
) -> None:
    vendor = FakeHttp(refusal, of_order(book(*seen)))

    assert Shopify(vendor).refund(GIVE_BACK) == expected
    assert [sent(vendor, i)[0] for i in range(2)] == [REFUND_CREATE, PAYMENT]


@pytest.mark.parametrize("trouble", [NotSentError("paced"), MaybeSentError("cut short"), answer(500)])
def test_a_refused_refund_whose_look_fails_is_unknown(trouble: Any) -> None:
    vendor = FakeHttp(create_refused("No"), trouble)

    assert isinstance(Shopify(vendor).refund(GIVE_BACK), Unknown)


def test_a_key_that_is_at_work_in_another_call_is_unknown_without_a_look() -> None:
    vendor = FakeHttp(failed("IDEMPOTENCY_CONCURRENT_REQUEST", ["refundCreate"], data={"refundCreate": None}))

    assert isinstance(Shopify(vendor).refund(GIVE_BACK), Unknown)
    assert len(vendor.requests) == 1


# --- the envelope, for every call ---------------------------------------------------------------------------

WRITES: list[tuple[str, Callable[[Shopify], object]]] = [
    ("cancel_order", lambda shop: shop.cancel_order(CANCEL_ORDER)),
    ("cancel_lines", lambda shop: shop.cancel_lines(CANCEL_LINES)),
    ("restock", lambda shop: shop.restock(RETURNED)),
    ("refund", lambda shop: shop.refund(GIVE_BACK)),
]
READS: list[tuple[str, Callable[[Shopify], object]]] = [
    ("read_order", lambda shop: shop.read_order(OrderRef("shopify", ORDER_ID))),
    ("read_order by number", lambda shop: shop.read_order(OrderRef("shopify", number="#1001"))),
    ("quote_lines", lambda shop: shop.quote_lines(FACTS, (LineQuantity(LAMP, 1),))),
    ("read_payment", lambda shop: shop.read_payment(ORDER_ID, SALE)),
]
LOOKS: list[tuple[str, Callable[[Shopify], object]]] = [
    ("find_cancel_order", lambda shop: shop.find_cancel_order(CANCEL_ORDER)),
    ("find_cancel_lines", lambda shop: shop.find_cancel_lines(CANCEL_LINES)),
    ("find_restock", lambda shop: shop.find_restock(RETURNED)),
    ("find_restock carried", lambda shop: shop.find_restock(CARRIED)),
    ("find_refund", lambda shop: shop.find_refund(GIVE_BACK)),
]
COST = {
    "requestedQueryCost": 560,
    "actualQueryCost": None,
    "throttleStatus": {"maximumAvailable": 2000.0, "currentlyAvailable": 60, "restoreRate": 100.0},
}
THROTTLED = failed("THROTTLED", extensions={"cost": COST})


@pytest.mark.parametrize(("_name", "call"), WRITES + READS + LOOKS)
@pytest.mark.parametrize(
    ("given", "code", "after_s"),
    [
        (THROTTLED, "throttled", 5.0),
        (failed("THROTTLED"), "throttled", None),
        (failed("THROTTLED", extensions={"cost": COST | {"requestedQueryCost": 50}}), "throttled", 0.0),
        (answer(429, headers={"Retry-After": "2.5"}), "throttled", 2.5),
        (answer(401, {"errors": "[API] Invalid API key or access token"}), "unauthorised", None),
        (answer(403), "unauthorised", None),
        (failed("ACCESS_DENIED"), "unauthorised", None),
    ],
)
def test_a_call_that_was_turned_away_certainly_did_nothing(
    _name: str, call: Callable[[Shopify], object], given: Response, code: str, after_s: float | None
) -> None:
    vendor = FakeHttp(given)
    outcome = call(Shopify(vendor))

    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.after_s) == (code, after_s)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(("_name", "call"), WRITES)
@pytest.mark.parametrize(
    "given",
    [
        answer(500), answer(502, "<html>"), answer(503), answer(200, "<html>"), answer(200, ""), answer(200, []),
        answer(200, {}), answer(200, None), answer(200, {"data": None}), answer(200, {"data": {}}), answer(301), answer(400),
        answer(200, {"errors": "Not allowed"}), answer(200, {"errors": [None]}), answer(200, {"errors": [7, "x"]}),
        failed("INTERNAL_SERVER_ERROR"), failed("TIMEOUT"), failed("NEW_WORD"), failed(None),
        data(orderCancel=None, refundCreate=None), data(orderCancel=[], refundCreate=[]),
        data(orderCancel={"job": None, "jobResult": None, "orderCancelUserErrors": []}, refundCreate={"refund": None, "userErrors": []}),
        data(orderCancel={"job": {"id": 7}}, refundCreate={"refund": {"id": REFUND_ID}}),
        failed("ACCESS_DENIED", ["orderCancel", "job"], data={"orderCancel": None}),
        failed("ACCESS_DENIED", ["refundCreate"], data={"refundCreate": {"refund": None}}),
        failed("THROTTLED", data={"orderCancel": {"job": {"id": "j1"}}}),
    ],
)  # fmt: skip
def test_a_write_without_a_clear_answer_is_unknown_and_nothing_more_is_sent(
    _name: str, call: Callable[[Shopify], object], given: Response
) -> None:
    vendor = FakeHttp(given)

    assert isinstance(call(Shopify(vendor)), Unknown)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (answer(402), "shop_locked"), (answer(423), "shop_locked"), (answer(404), "wrong_shop"),
        (failed("SHOP_INACTIVE"), "shop_inactive"), (failed("MAX_COST_EXCEEDED"), "max_cost_exceeded"),
    ],
)  # fmt: skip
def test_a_shop_that_takes_no_calls_is_a_no_to_a_write_and_proves_nothing_to_a_look(
    given: Response, code: str
) -> None:
    for name, call in WRITES + READS:
        outcome = call(Shopify(FakeHttp(given)))
        assert isinstance(outcome, Permanent), name
        assert outcome.code == code
    for name, call in LOOKS:
        found = call(Shopify(FakeHttp(given)))
        assert isinstance(found, Unknown), name
        assert found.reason.startswith(f"could not look ({code}): ")


@pytest.mark.parametrize(("_name", "call"), READS + LOOKS)
@pytest.mark.parametrize(
    "given", [answer(500), answer(503), failed("INTERNAL_SERVER_ERROR"), failed("TIMEOUT")]
)
def test_a_read_that_failed_over_there_may_be_tried_again(
    _name: str, call: Callable[[Shopify], object], given: Response
) -> None:
    outcome = call(Shopify(FakeHttp(given)))

    assert isinstance(outcome, Retryable)
    assert outcome.code == "unavailable"


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["data", "order", "orders", "refund", "refundCreate", "orderCancel", "job", "jobResult", "nodes",
                         "errors", "id", "userErrors", "orderCancelUserErrors", "transactions", "refunds", "extensions"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(any_json)
def test_no_answer_of_whatever_shape_raises_or_counts_as_a_yes(body: Any) -> None:
    whole = answer(200, body) if isinstance(body, dict) else answer(200, json.dumps(body))
    inner = answer(200, {"data": {"order": body, "refundCreate": body, "orderCancel": body, "orders": body}})
    for given_answer in (whole, inner):
        for name, call in WRITES + LOOKS:
            outcome = call(Shopify(FakeHttp(given_answer, always=answer(500))))
            assert not isinstance(outcome, Done | AlreadyDone), name
        for name, call in READS:
            read = call(Shopify(FakeHttp(given_answer, always=answer(500))))
            assert isinstance(read, NotFound | Retryable | Permanent | Unknown), name
        assert not Shopify(FakeHttp(given_answer)).check().is_ok


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("refundflow RF-1.refund.1", "RF-1.refund.1"), ("a refundflow\tRF-1.refund.1 b", "RF-1.refund.1"),
        ("refundflow", ""), ("", ""), ("RF-1.refund.1", ""), ("xrefundflow RF-1.refund.1", ""),
        ("refundflow a refundflow b", "a"),
    ],
)  # fmt: skip
def test_a_note_is_ours_by_whole_words(note: str, expected: str) -> None:
    assert step_key_in(note) == expected


# --- the shop's health, and how it is reached ---------------------------------------------------------------

VERSIONS = [{"handle": "2026-07", "supported": True}, {"handle": "2026-10", "supported": True},
            {"handle": "unstable", "supported": False}]  # fmt: skip
HEALTHY = {"data": {"publicApiVersions": VERSIONS, "orders": {"nodes": []}}}


@pytest.mark.parametrize(
    ("given", "is_ok", "detail"),
    [
        (
            answer(200, HEALTHY, {"X-Shopify-API-Version": "2026-10"}),
            True,
            "API 2026-10, orders are readable",
        ),
        (answer(200, HEALTHY), True, "API 2026-10, orders are readable"),
        (
            answer(200, HEALTHY, {"X-Shopify-API-Version": "2027-01"}),
            False,
            "asked for API 2026-10, answered by 2027-01: set api_version to a living version and run the contract tests",
        ),
        (
            answer(200, {"data": HEALTHY["data"] | {"publicApiVersions": VERSIONS[:1]}}),
            False,
            "API 2026-10 is not among the supported ['2026-07']: set api_version to a living version and run the "
            "contract tests",
        ),
        (
            failed("ACCESS_DENIED"),
            False,
            "Shopify answered ACCESS_DENIED: It did not work; check the access token, and that the app has write_orders, "
            "read_all_orders and read_shopify_payments_disputes",
        ),
        (answer(404), False, "Shopify answered 404: check the shop's name and the API version"),
        (answer(200, "<html>"), False, "unreadable answer, status 200"),
        (data(), False, "Shopify answered, but not with its versions and orders: check the shop's name"),
    ],
)
def test_a_check_says_what_to_do(given: Response, is_ok: bool, detail: str) -> None:
    assert Shopify(FakeHttp(given)).check() == Health(is_ok, detail)


def test_a_token_that_does_not_expire_is_a_standing_header() -> None:
    wire = FakeWire()
    shop = build(Credentials(shop="acme", access_token=Secret("shpat_1")), wire)

    assert shop == Shopify(wire.fake, "2026-10")
    assert wire.token_requests == []
    assert wire.made == [
        {
            "platform": "shopify",
            "base_url": "https://acme.myshopify.com",
            "rate_per_s": 2.0,
            "burst": 5,
            "connect_s": 3.0,
            "read_s": 20.0,
            "headers": {"X-Shopify-Access-Token": "shpat_1"},
            "redact": SPEC.redact,
        }
    ]


def test_without_one_a_token_is_fetched_with_the_apps_credentials() -> None:
    wire = FakeWire()
    credentials = Credentials(shop="acme.myshopify.com", client_id="id", client_secret=Secret("shh"))
    build(credentials, wire)

    assert [made["base_url"] for made in wire.made] == ["https://acme.myshopify.com"] * 2
    assert [made.get("token_header") for made in wire.made] == [None, "X-Shopify-Access-Token"]
    assert wire.made[1]["token_format"] == "{}"
    assert [(r.method, r.path, dict(r.form or ())) for r in wire.token_requests] == [
        (
            "POST",
            "/admin/oauth/access_token",
            {"grant_type": "client_credentials", "client_id": "id", "client_secret": "shh"},
        )
    ]


def test_credentials_hide_their_secrets_and_deliveries_are_signed_with_the_clients() -> None:
    credentials = Credentials("acme", client_secret=Secret("shh"), base_url="http://127.0.0.1:1")

    assert "shh" not in repr(credentials)
    assert credentials.url == "http://127.0.0.1:1"
    assert credentials.inbound_secret == Secret("shh")
    assert replace(credentials, webhook_secret=Secret("own")).inbound_secret == Secret("own")


# --- deliveries ---------------------------------------------------------------------------------------------

INBOUND = ShopifyInbound(Secret("new-secret, old-secret"))
BODY = b'{"id": 1001}'


def delivery(prefix: str = "x-shopify-", **changes: str) -> Delivery:
    headers = {
        "topic": "orders/cancelled",
        "webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        "hmac-sha256": sign_base64("new-secret", BODY),
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return Delivery({prefix + name: value for name, value in headers.items() if value}, BODY)


@pytest.mark.parametrize("prefix", ["x-shopify-", "shopify-"])
@pytest.mark.parametrize("secret", ["new-secret", "old-secret"])
def test_a_delivery_is_verified_in_both_spellings_and_with_either_secret(prefix: str, secret: str) -> None:
    signed = delivery(prefix, hmac_sha256=sign_base64(secret, BODY))

    assert INBOUND.verify(signed, NOW) == Verified("b54557e4-bdd9-4b37-8a5f-bf7d70bcd043", "orders/cancelled")


def test_a_delivery_without_an_id_is_known_by_its_body() -> None:
    assert INBOUND.verify(delivery(webhook_id=""), NOW) == Verified(
        "sha256:9d39d5d88550c7161e17096ea04407d5f2eb10a62a643f816f9f67b64d958a66", "orders/cancelled"
    )


@pytest.mark.parametrize(
    ("_case", "given_delivery", "reason"),
    [
        ("another secret", delivery(hmac_sha256=sign_base64("other", BODY)), "the signature does not fit"),
        ("another body", replace(delivery(), body=b'{"id": 1002}'), "the signature does not fit"),
        ("not base64", delivery(hmac_sha256="ä\udce4"), "the signature does not fit"),
        ("no signature", delivery(hmac_sha256=""), "the signature or the topic is missing"),
        ("no topic", delivery(topic=""), "the signature or the topic is missing"),
    ],
)
def test_a_delivery_that_is_not_shopifys_is_refused(
    _case: str, given_delivery: Delivery, reason: str
) -> None:
    assert INBOUND.verify(given_delivery, NOW) == Refused(reason)


def test_nothing_is_verified_without_a_secret() -> None:
    assert ShopifyInbound(Secret(" ,")).verify(delivery(), NOW) == Refused("no webhook secret is set")


def event(topic: str, **body: Any) -> object:
    return INBOUND.read_event(topic, json.dumps(body).encode())


REF = OrderRef("shopify", ORDER_ID)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("customer", "customer"), ("fraud", "fraud"), ("inventory", "inventory"), ("declined", "declined"),
        ("staff", "staff"), ("other", "other"), ("new_word", "other"), (None, "other"),
    ],
)  # fmt: skip
def test_a_cancelled_order_is_told_with_its_reason(told: str | None, reason: str) -> None:
    cancelled_at = "2026-11-22T10:15:00-05:00"

    assert event(
        "orders/cancelled", id=1001, name="#1001", cancel_reason=told, cancelled_at=cancelled_at
    ) == OrderCancelledElsewhere(OrderRef("shopify", ORDER_ID, "#1001"), reason)


def test_the_body_has_the_word_on_whether_the_order_is_cancelled_because_the_topic_is_not_signed() -> None:
    assert isinstance(event("orders/cancelled", id=1001, cancelled_at=None), Irrelevant)


def moved(**changes: Any) -> dict[str, Any]:
    return {
        "id": 78,
        "parent_id": 77,
        "kind": "refund",
        "status": "success",
        "amount": "41.90",
        "currency": "EUR",
    } | changes


@pytest.mark.parametrize(
    ("_case", "moves", "status", "minor"),
    [
        ("arrived", [moved()], RefundStatus.SUCCEEDED, 4190),
        ("on its way", [moved(status="pending")], RefundStatus.PENDING, 4190),
        ("failed", [moved(status="failure")], RefundStatus.FAILED, 4190),
        ("in error", [moved(status="error")], RefundStatus.FAILED, 4190),
        ("in two parts", [moved(amount="1.00"), moved(amount="2.00")], RefundStatus.SUCCEEDED, 300),
        ("with another kind beside it", [moved(kind="void"), moved()], RefundStatus.SUCCEEDED, 4190),
    ],
)
def test_a_refund_is_told_with_our_step_where_the_note_has_it(
    _case: str, moves: list[Any], status: RefundStatus, minor: int
) -> None:
    seen = RefundSeen("shopify", SALE, REFUND_ID, status, eur(minor), order=REF)

    assert event("refunds/create", id=501, order_id=1001, note=None, transactions=moves) == seen
    assert event(
        "refunds/create", id=501, order_id=1001, note=f"refundflow {REFUND_STEP}", transactions=moves
    ) == replace(seen, step_key=REFUND_STEP)


@pytest.mark.parametrize(
    ("_case", "moves", "payment"),
    [
        ("nothing said yet", [], ""),
        ("two payments", [moved(), moved(parent_id=80)], ""),
        ("no currency", [moved(currency=None)], SALE),
        ("only another kind", [moved(kind="void")], ""),
    ],
)
def test_a_refund_that_does_not_say_enough_makes_us_ask(_case: str, moves: list[Any], payment: str) -> None:
    assert event(
        "refunds/create", id=501, order_id=1001, note="", transactions=moves
    ) == PaymentRefundsChanged("shopify", payment, REF)


def test_a_refund_without_a_parent_names_its_order_only() -> None:
    seen = event("refunds/create", id=501, order_id=1001, transactions=[moved(parent_id=None)])

    assert seen == RefundSeen("shopify", "", REFUND_ID, RefundStatus.SUCCEEDED, eur(4190), order=REF)


def test_the_echo_of_our_own_restock_is_nothing_to_do() -> None:
    body = {"id": 501, "order_id": 1001, "note": f"refundflow {CANCEL_STEP}", "transactions": []}

    assert isinstance(event("refunds/create", **body), Irrelevant)


def test_the_late_word_of_a_transaction_makes_us_ask_the_order() -> None:
    body = {"id": 78, "order_id": 1001, "parent_id": 77, "kind": "refund", "status": "failure"}

    assert event("order_transactions/create", **body) == PaymentRefundsChanged("shopify", SALE, REF)
    assert isinstance(event("order_transactions/create", **(body | {"kind": "sale"})), Irrelevant)


@pytest.mark.parametrize("topic", ["disputes/create", "disputes/update"])
@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("chargeback", "needs_response", DisputeState.OPEN),
        ("inquiry", "under_review", DisputeState.WARNING),
        ("inquiry", "lost", DisputeState.LOST),
        ("chargeback", "won", DisputeState.WON),
    ],
)
def test_a_dispute_is_told_with_its_order(topic: str, kind: str, status: str, state: DisputeState) -> None:
    body = {"id": 9, "order_id": 1001, "type": kind, "status": status, "amount": "41.90", "currency": "EUR"}
    seen = DisputeSeen("shopify", "", "gid://shopify/ShopifyPaymentsDispute/9", state, eur(4190), order=REF)

    assert event(topic, **body) == seen
    assert event(topic, **(body | {"order_id": None, "reason": "fraudulent"})) == replace(
        seen, order=None, reason="fraudulent"
    )


def test_other_topics_are_nothing_to_do() -> None:
    assert event("orders/updated", id=1) == Irrelevant("nothing is done on orders/updated")


REFUND_EVENT: dict[str, Any] = {"id": 501, "order_id": 1001, "transactions": [moved()]}
DISPUTE_EVENT = {"id": 9, "type": "inquiry", "status": "won", "amount": "1.00", "currency": "EUR"}


@pytest.mark.parametrize(
    ("topic", "body", "field"),
    [
        ("orders/cancelled", {}, "id"),
        ("orders/cancelled", {"id": "1001"}, "id"),
        ("orders/cancelled", {"id": True}, "id"),
        ("orders/cancelled", {"id": -1}, "id"),
        ("orders/cancelled", {"id": 1, "name": 7}, "name"),
        ("orders/cancelled", {"id": 1, "cancel_reason": []}, "cancel_reason"),
        ("orders/cancelled", {"id": 1, "cancelled_at": 5}, "cancelled_at"),
        ("refunds/create", REFUND_EVENT | {"id": None}, "id"),
        ("refunds/create", REFUND_EVENT | {"order_id": None}, "order_id"),
        ("refunds/create", REFUND_EVENT | {"note": 7}, "note"),
        ("refunds/create", REFUND_EVENT | {"transactions": {}}, "transactions"),
        ("refunds/create", REFUND_EVENT | {"transactions": [None]}, "transactions[0]"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(kind=None)]}, "transactions[0].kind"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(), moved(status=1)]}, "transactions[1].status"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(amount=41.9)]}, "transactions[0].amount"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(amount="41.905")]}, "transactions[0].amount"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(currency="euro")]}, "transactions[0].amount"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(parent_id="77")]}, "transactions[0].parent_id"),
        ("refunds/create", REFUND_EVENT | {"transactions": [moved(), moved(currency="USD")]}, "transactions"),
        ("order_transactions/create", {"kind": "refund"}, "order_id"),
        ("order_transactions/create", {"order_id": 1}, "kind"),
        ("disputes/create", DISPUTE_EVENT | {"id": None}, "id"),
        ("disputes/create", DISPUTE_EVENT | {"type": None}, "type"),
        ("disputes/update", DISPUTE_EVENT | {"status": 1}, "status"),
        ("disputes/update", DISPUTE_EVENT | {"amount": None}, "amount"),
        ("disputes/update", DISPUTE_EVENT | {"currency": ""}, "currency"),
        ("disputes/update", DISPUTE_EVENT | {"order_id": "x"}, "order_id"),
        ("disputes/update", DISPUTE_EVENT | {"reason": 1}, "reason"),
    ],
)  # fmt: skip
def test_a_body_with_something_missing_names_the_field(topic: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        event(topic, **body)

    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b"\xff"])
def test_a_body_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        INBOUND.read_event("orders/cancelled", body)

    assert caught.value.field == "$"
