"""BigCommerce's answers and what they come to, its traps, and its deliveries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from refundflow.connectors.base import Polled
from refundflow.connectors.bigcommerce import (
    CONCLUSIVE_S,
    SPEC,
    BigCommerce,
    BigCommerceInbound,
    Credentials,
    Habits,
    Moved,
    Note,
    Order,
    Payment,
    Product,
    Quote,
    Scene,
    Stock,
    StockSettings,
    StockVerdict,
    amount_of,
    build,
    claim_key,
    judge_stock,
    moved,
    note_value,
    order_facts,
    payment_facts,
    payment_of,
    payments_of,
    pick_way,
    read_cursor,
    read_date,
    read_failure,
    read_note_value,
    read_order_object,
    read_polled,
    read_product,
    read_quote,
    read_refunds,
    read_transactions,
    rounded,
    settle_payback,
    wait_of,
)
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundStatus,
    Tender,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Pending, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request, Response
from refundflow.transport.signatures import sign_base64
from tests.support.fake_http import FakeHttp, FakeWire, answer

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.refund.1")
KEY = wire_key(STEP, 1)
EUR = "EUR"
WHOLE = Money(5250, EUR)

ORDER: dict[str, Any] = {
    "id": 1001,
    "status_id": 11,
    "status": "Awaiting Fulfillment",
    "payment_status": "captured",
    "payment_method": "Stripe",
    "payment_provider_id": "ch_1",
    "default_currency_code": EUR,
    "currency_code": "USD",
    "total_inc_tax": "52.5000",
    "store_credit_amount": "0.0000",
    "gift_certificate_amount": "0.0000",
    "refunded_amount": "0.0000",
    "date_created": "Tue, 24 Nov 2026 09:00:00 +0000",
    "date_modified": "Wed, 25 Nov 2026 08:00:00 +0000",
    "staff_notes": "call first",
    "items_shipped": 0,
    "is_deleted": False,
    "is_tax_inclusive_pricing": False,
    "channel_id": 1,
    "order_source": "www",
    "customer_locale": "de",
    "billing_address": {"email": "ada@shop.example", "first_name": "Ada", "last_name": "Lovelace"},
}
PRODUCTS: list[dict[str, Any]] = [
    {
        "id": 8,
        "variant_id": 77,
        "sku": "POSTER",
        "name": "Poster",
        "quantity": 2,
        "quantity_shipped": 0,
        "quantity_refunded": 0,
        "discounted_total_inc_tax": "30.0000",
        "wrapping_cost_inc_tax": "0.0000",
    },
    {
        "id": 9,
        "variant_id": 78,
        "sku": "FRAME",
        "name": "Frame",
        "quantity": 1,
        "quantity_shipped": 0,
        "quantity_refunded": 0,
        "discounted_total_inc_tax": "12.5000",
    },
]
PURCHASE: dict[str, Any] = {
    "id": 501,
    "event": "purchase",
    "method": "credit_card",
    "amount": Decimal("52.50"),
    "currency": EUR,
    "gateway": "stripe",
    "gateway_transaction_id": "ch_1",
    "status": "ok",
}


def refund_json(**changes: Any) -> dict[str, Any]:
    """A refund of ours as the list shows it. `payment`: changes of its only payment."""
    payment = {
        "id": 31,
        "provider_id": "stripe",
        "amount": Decimal("52.50"),
        "offline": False,
        "is_declined": False,
        "declined_message": "",
        "transaction_id": "601",
        **changes.pop("payment", {}),
    }
    return {
        "id": 21,
        "order_id": 1001,
        "total_amount": payment["amount"],
        "items": [
            {"item_type": "ORDER", "item_id": 1001, "reason": KEY, "requested_amount": Decimal("52.50")}
        ],
        "payments": [payment],
        **changes,
    }


def refund_transaction(**changes: Any) -> dict[str, Any]:
    return {**PURCHASE, "id": 601, "event": "refund", "gateway_transaction_id": "re_1", **changes}


def option(provider: str, amount: str = "52.50", *, offline: bool = False) -> dict[str, Any]:
    return {
        "provider_id": provider,
        "amount": Decimal(amount),
        "offline": offline,
        "offline_reason": "It only works offline." if offline else "",
    }


def quote_json(total: str = "52.50", *ways: list[dict[str, Any]]) -> dict[str, Any]:
    offered = ways or (
        [option("storecredit", total)],
        [option("custom", total, offline=True)],
        [option("stripe", total)],
    )
    return {
        "data": {
            "total_refund_amount": Decimal(total),
            "total_refund_tax_amount": Decimal("8.38"),
            "refund_methods": list(offered),
        }
    }


def told(status: int, title: str = "no") -> Response:
    return answer(status, {"status": status, "title": title, "type": "https://x", "errors": {}})


class Shop:
    """Answers by operation; what is not said otherwise is an order that was paid and not touched yet."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "read_order": answer(200, ORDER),
            "list_products": answer(200, PRODUCTS),
            "list_transactions": answer(200, {"data": [PURCHASE]}),
            "list_refunds": answer(200, {"data": []}),
            "list_shipping_addresses": answer(
                200, [{"id": 40, "cost_ex_tax": "10.0000", "cost_inc_tax": "10.0000"}]
            ),
            "list_fees": answer(204),
            "claim": answer(200, {"data": {"id": 900}}),
            "list_notes": answer(200, {"data": []}),
            "list_stock": answer(200, stock_json({77: 3, 78: 0})),
            "quote_refund": answer(201, quote_json()),
            "stock_settings": answer(
                200,
                {"data": {"refund_order_stock_adjustment": False, "update_stock_behavior": "order_placed"}},
            ),
            **answers,
        }
        self.http = FakeHttp(always=self._play)
        self.connector = BigCommerce(self.http)

    def _play(self, request: Request) -> Any:
        found = self.answers.get(request.operation.removeprefix("bigcommerce."))
        if found is None:
            raise AssertionError(f"not expected: {request.operation}")
        if isinstance(found, list):
            return found.pop(0)
        return found(request) if callable(found) else found

    def sent(self, operation: str) -> list[Request]:
        return [r for r in self.http.requests if r.operation == f"bigcommerce.{operation}"]


def stock_settings_json(is_returned: bool) -> dict[str, Any]:
    return {"data": {"refund_order_stock_adjustment": is_returned, "update_stock_behavior": "order_placed"}}


def stock_json(units: Mapping[int, int], location: int = 1) -> dict[str, Any]:
    return {
        "data": [
            {
                "identity": {"sku": "", "variant_id": variant, "product_id": 5},
                "locations": [{"location_id": location, "available_to_sell": n, "total_inventory_onhand": n}],
            }
            for variant, n in units.items()
        ],
        "meta": {"pagination": {"total_pages": 1}},
    }


def note_json(key: str, value: str, note_id: int = 900, created: str = "") -> dict[str, Any]:
    return {"id": note_id, "key": key, "value": value, "namespace": "refundflow", "date_created": created}


def order(**changes: Any) -> Order:
    found = read_order_object({**ORDER, **changes})
    assert found is not None
    return found


def product(**changes: Any) -> Product:
    found = read_product({**PRODUCTS[0], **changes}, EUR)
    assert found is not None
    return found


def refund(**changes: Any) -> Refund:
    command = Refund(
        step_key=STEP,
        key=KEY,
        order_id="1001",
        order_number="1001",
        payment_reference="1001:stripe",
        gateway="stripe",
        amount=WHOLE,
    )
    return replace(command, **changes)


def record(**changes: Any) -> RecordOrderRefund:
    command = RecordOrderRefund(
        step_key=STEP, key=KEY, order_id="1001", order_number="1001", amount=WHOLE, refund_references="re_9"
    )
    return replace(command, **changes)


def cancel(**changes: Any) -> CancelOrder:
    step = StepKey(f"{CASE}.cancel_order.1")
    command = CancelOrder(
        step_key=step, key=wire_key(step, 1), order_id="1001", reason="customer", restock=False
    )
    return replace(command, **changes)


def restock(**changes: Any) -> Restock:
    step = StepKey(f"{CASE}.restock.1")
    command = Restock(
        step_key=step,
        key=wire_key(step, 1),
        order_id="1001",
        currency=EUR,
        lines=(LineQuantity("8", 2), LineQuantity("9", 1)),
    )
    return replace(command, **changes)


# ---------------------------------------------------------------------------------------------------------------------


class TestValues:
    @pytest.mark.parametrize(
        ("_case", "value", "amount"),
        [
            ("v2", "41.9000", 4190),
            ("v3", Decimal("41.9"), 4190),
            ("whole", 41, 4100),
            ("more places than the currency", "41.9010", None),
            ("a truth", True, None),
            ("nothing", None, None),
            ("a text", "abc", None),
            ("no number", "NaN", None),
            ("endless", "Infinity", None),
        ],
    )
    def test_amounts_are_exact_or_none(self, _case: str, value: Any, amount: int | None) -> None:
        assert amount_of(value, EUR) == (None if amount is None else Money(amount, EUR))

    @pytest.mark.parametrize(
        ("value", "minor"), [("8.4034", 840), ("8.4050", 841), ("1e30", None), ("x", None), (None, None)]
    )
    def test_prices_of_units_are_rounded(self, value: Any, minor: int | None) -> None:
        assert rounded(value, EUR) == (None if minor is None else Money(minor, EUR))

    @pytest.mark.parametrize(
        "text",
        [
            "Wed, 25 Nov 2026 09:00:00 +0000",
            "Wed, 25 Nov 2026 10:00:00 +0100",
            "Wed, 25 Nov 2026 09:00:00 -0000",
            "2026-11-25T09:00:00+00:00",
            "2026-11-25T09:00:00",
        ],
    )
    def test_dates_of_both_versions_are_aware(self, text: str) -> None:
        assert read_date(text) == NOW

    @pytest.mark.parametrize("value", ["", "soon", None, 5, "2026-99-99"])
    def test_what_is_no_date_is_none(self, value: Any) -> None:
        assert read_date(value) is None

    @pytest.mark.parametrize(
        ("reference", "payment"),
        [
            ("1001:stripe", Payment("1001", "stripe")),
            ("1001", Payment("1001", "")),
            ("1001:", None),
            ("1002:stripe", None),
            ("01001:stripe", None),
            ("1001:../x", None),
            ("1001:stripe\n", None),
            ("stripe", None),
            ("", None),
        ],
    )
    def test_a_reference_names_a_payment_of_its_order(self, reference: str, payment: Payment | None) -> None:
        assert payment_of(reference, "1001") == payment

    def test_a_long_wire_key_still_fits_a_metafield(self) -> None:
        assert claim_key(refund()) == f"{STEP}:1"
        assert len(claim_key(refund(key="refundflow:" + "x" * 90 + ":1"))) == 64


class TestSmuggling:
    """Nothing that is no number of ours gets into a path."""

    @pytest.mark.parametrize("bad", ["1/../2", "1001?x", "", "0", "abc", "1001\n", "１００１", "-1"])
    def test_no_call_is_made(self, bad: str) -> None:
        http = FakeHttp()
        shop = BigCommerce(http)
        facts = replace(order_facts(order(), [product()], []), order_id=bad or "x")
        line = LineQuantity(bad, 1)
        calls: list[Callable[[], Any]] = [
            lambda: shop.read_order(OrderRef("bigcommerce", bad)),
            lambda: shop.quote_lines(facts, (LineQuantity("8", 1),)),
            lambda: shop.cancel_order(cancel(order_id=bad)),
            lambda: shop.find_cancel_order(cancel(order_id=bad)),
            lambda: shop.restock(restock(order_id=bad)),
            lambda: shop.find_restock(restock(order_id=bad)),
            lambda: shop.read_payment("", f"{bad}:stripe"),
            lambda: shop.refund(refund(payment_reference=f"{bad}:stripe")),
            lambda: shop.refund(refund(payment_reference="1001")),
            lambda: shop.find_refund(refund(payment_reference=f"{bad}:stripe")),
            lambda: shop.record_order_refund(record(order_id=bad)),
            lambda: shop.find_record_order_refund(record(order_id=bad)),
            lambda: shop.void_payment(void(payment_reference=f"{bad}:stripe")),
            lambda: shop.find_void_payment(void(payment_reference=f"{bad}:stripe")),
        ]
        for call in calls:
            said = call()
            assert isinstance(said, Permanent | Unknown), said
        assert http.requests == []
        lined = Shop()
        assert isinstance(lined.connector.refund(refund(lines=(line,))), Permanent)
        assert lined.sent("refund") == []

    def test_a_hash_that_is_none_is_no_setting(self) -> None:
        for bad in ("", "a/b", "a?b"):
            with pytest.raises(ValueError, match="store_hash"):
                Credentials(bad, Secret("t"))
        with pytest.raises(ValueError, match="signature_required"):
            Credentials("abc", Secret("t"), signature_required="perhaps")

    def test_the_address_holds_the_store(self) -> None:
        wire = FakeWire()
        build(Credentials("abc", Secret("token-1"), base_url="http://vendors.example/bigcommerce/"), wire)
        [made] = wire.made
        assert made["base_url"] == "http://vendors.example/bigcommerce/stores/abc"
        assert made["headers"] == {"X-Auth-Token": "token-1", "Accept": "application/json"}


class TestFailures:
    @pytest.mark.parametrize(
        ("_case", "response", "family", "code"),
        [
            ("v3", told(422), Permanent, "refused"),
            ("v2", answer(400, [{"status": 400, "message": "bad"}]), Permanent, "invalid"),
            (
                "inside data",
                answer(422, {"data": [{"status": 422, "title": "No.", "errors": {"a": "b"}}]}),
                Permanent,
                "refused",
            ),
            (
                "a failed quote",
                answer(503, {"data": [{"order_id": 1, "status": 503, "error": "Tax service gone away"}]}),
                Unknown,
                "",
            ),
            ("not there", told(404), Permanent, "not_found"),
            ("somebody's 404 page", answer(404, "<html>"), Unknown, ""),
            ("a 422 of nobody", answer(422, "{}"), Unknown, ""),
            ("not settled", told(422, "Payment has not been settled."), Retryable, "unavailable"),
            ("already", told(422, "This item was already refunded."), Unknown, ""),
            ("a clash", told(409), Unknown, ""),
            ("a method", told(405), Permanent, "http_405"),
            ("scope", told(403), Retryable, "unauthorised"),
            ("no body", answer(401), Retryable, "unauthorised"),
            ("broken", told(500), Unknown, ""),
            ("an error that is no error", answer(200, {"ok": True}), Unknown, ""),
        ],
    )
    def test_each_answer_is_worth(self, _case: str, response: Response, family: type, code: str) -> None:
        failure = read_failure(response)
        assert isinstance(failure, family)
        assert getattr(failure, "code", "") == code

    @pytest.mark.parametrize(
        ("_case", "headers", "wait_s"),
        [
            ("the quota's window", {"X-Rate-Limit-Time-Reset-Ms": "12500"}, 12.5),
            ("both", {"X-Rate-Limit-Time-Reset-Ms": "12500", "Retry-After": "7"}, 12.5),
            ("a hint", {"Retry-After": "7"}, 7.0),
            ("overload", {}, 60.0),
            ("nonsense", {"X-Rate-Limit-Time-Reset-Ms": "-5"}, 60.0),
        ],
    )
    def test_too_many_calls_wait_for_the_window(
        self, _case: str, headers: dict[str, str], wait_s: float
    ) -> None:
        assert wait_of(answer(429, "", headers)) == wait_s
        failure = read_failure(answer(429, "", headers))
        assert (getattr(failure, "code", ""), getattr(failure, "after_s", 0)) == ("throttled", wait_s)


class TestOrders:
    def test_the_transactional_currency_counts_not_the_displayed_one(self) -> None:
        assert order().total == WHOLE

    @pytest.mark.parametrize(
        "change",
        [
            {"default_currency_code": "euro"},
            {"total_inc_tax": "52.5050"},
            {"total_inc_tax": None},
            {"date_created": "soon"},
            {"store_credit_amount": "?"},
            {"items_shipped": "some"},
        ],
    )
    def test_an_order_that_cannot_be_read_is_none(self, change: dict[str, Any]) -> None:
        assert read_order_object({**ORDER, **change}) is None

    def test_another_order_than_asked_for_is_no_answer(self) -> None:
        shop = Shop(read_order=answer(200, {**ORDER, "id": 1002}))
        assert isinstance(shop.connector.read_order(OrderRef("bigcommerce", "1001")), Unknown)

    def test_names_and_language_are_told(self) -> None:
        facts = Shop().connector.read_order(OrderRef("bigcommerce", number="#1001"))
        assert isinstance(facts, OrderFacts)
        assert (facts.customer_name, facts.locale, facts.email) == ("Ada Lovelace", "de", "ada@shop.example")

    @pytest.mark.parametrize(
        ("_case", "status_id", "line", "expected"),
        [
            ("untouched", 11, {}, (2, 2, 2)),
            ("one shipped", 3, {"quantity_shipped": 1}, (2, 1, 2)),
            ("a number with a point", 3, {"quantity_shipped": Decimal("1.0")}, (2, 1, 2)),
            ("one refunded", 14, {"quantity_refunded": 1}, (1, 1, 1)),
            (
                "which one came back is not told",
                14,
                {"quantity_refunded": 1, "quantity_shipped": 1},
                (1, 0, 1),
            ),
            ("shipped without a shipment", 2, {}, (2, 0, 2)),
            ("completed without a shipment", 10, {}, (2, 0, 2)),
        ],
    )
    def test_units(
        self, _case: str, status_id: int, line: dict[str, Any], expected: tuple[int, int, int]
    ) -> None:
        [told_line] = order_facts(order(status_id=status_id), [product(**line)], []).lines
        assert (told_line.quantity, told_line.unfulfilled, told_line.refundable) == expected

    @pytest.mark.parametrize(
        ("_case", "line", "unit"),
        [
            ("discounts are in", {"quantity": 3, "discounted_total_inc_tax": "29.0000"}, 967),
            ("without the newer field", {"discounted_total_inc_tax": None, "total_inc_tax": "41.9000"}, 2095),
            ("none left", {"quantity": 0, "discounted_total_inc_tax": "0.0000"}, 0),
        ],
    )
    def test_prices(self, _case: str, line: dict[str, Any], unit: int) -> None:
        assert product(**line).unit == Money(unit, EUR)

    @pytest.mark.parametrize(
        ("_case", "changes", "is_cancelled"),
        [
            ("open", {}, False),
            ("cancelled", {"status_id": 5}, True),
            ("cancelled though shipped: BigCommerce allows it", {"status_id": 5, "items_shipped": 2}, True),
            ("refunded in full, nothing shipped", {"status_id": 4}, True),
            ("refunded in full after it was shipped", {"status_id": 4, "items_shipped": 1}, False),
            ("refunded in part", {"status_id": 14}, False),
            (
                "our cancel, and a refund of a part wrote over it",
                {"status_id": 14, "staff_notes": f"refundflow {CASE}.cancel_order.1: cancelled (staff)\nx"},
                True,
            ),
            (
                "our cancel, and somebody set it back",
                {"status_id": 11, "staff_notes": f"refundflow {CASE}.cancel_order.1: cancelled (staff)"},
                False,
            ),
            (
                "somebody writes about us",
                {"status_id": 14, "staff_notes": "see refundflow RF-1.cancel_order.1: cancelled"},
                False,
            ),
        ],
    )
    def test_what_counts_as_cancelled(self, _case: str, changes: dict[str, Any], is_cancelled: bool) -> None:
        facts = order_facts(order(**changes), [product()], [])
        assert (facts.cancelled_at is not None) is is_cancelled

    @pytest.mark.parametrize(
        ("_case", "changes", "word"),
        [
            ("open", {}, ""),
            ("disputed", {"status_id": 13}, "disputed"),
            ("checkout not finished", {"status_id": 0}, "checkout"),
            ("archived", {"is_deleted": True}, "archived"),
            ("partly shipped, no line says which", {"status_id": 3}, "which part"),
            ("awaiting pickup", {"status_id": 8}, ""),
        ],
    )
    def test_what_must_not_be_cancelled_without_a_person(
        self, _case: str, changes: dict[str, Any], word: str
    ) -> None:
        refusal = order_facts(order(**changes), [product()], []).cancel_refusal
        assert word in refusal
        assert bool(refusal) is bool(word)

    def test_lines_are_read_over_all_pages(self) -> None:
        full = [{**PRODUCTS[0], "id": n} for n in range(1, 251)]
        shop = Shop(list_products=[answer(200, full), answer(200, PRODUCTS)])
        facts = shop.connector.read_order(OrderRef("bigcommerce", "1001"))
        assert isinstance(facts, OrderFacts)
        assert len(facts.lines) == 252

    @pytest.mark.parametrize(
        ("_case", "settings", "restocks_itself"),
        [
            ("the store leaves stock alone", answer(200, stock_settings_json(False)), False),
            ("the store returns stock by itself", answer(200, stock_settings_json(True)), True),
            ("the account may not read it", answer(403, "{}"), False),
            ("an error page", answer(200, "<html>"), False),
        ],
    )
    def test_a_store_that_returns_stock_by_itself_is_told(
        self, _case: str, settings: Response, restocks_itself: bool
    ) -> None:
        facts = Shop(stock_settings=settings).connector.read_order(OrderRef("bigcommerce", "1001"))
        assert isinstance(facts, OrderFacts)
        assert facts.restocks_itself is restocks_itself

    def test_a_list_without_end_is_given_up(self) -> None:
        full = answer(200, [{**PRODUCTS[0], "id": n} for n in range(1, 251)])
        shop = Shop(list_products=full)
        assert isinstance(shop.connector.read_order(OrderRef("bigcommerce", "1001")), Unknown)


class TestPayments:
    @pytest.mark.parametrize(
        ("_case", "changes", "transactions", "expected"),
        [
            ("a purchase", {}, [PURCHASE], [("stripe", "captured", 5250, 0)]),
            (
                "an authorisation",
                {"payment_status": "authorized"},
                [{**PURCHASE, "event": "authorization"}],
                [("stripe", "authorised", 0, 5250)],
            ),
            (
                "captured in part: the rest is released",
                {},
                [
                    {**PURCHASE, "event": "authorization"},
                    {**PURCHASE, "event": "capture", "amount": Decimal("40.00")},
                ],
                [("stripe", "captured", 4000, 0)],
            ),
            (
                "the status knows of a capture that left no transaction",
                {"payment_status": "captured"},
                [{**PURCHASE, "event": "authorization"}],
                [("stripe", "captured", 5250, 0)],
            ),
            (
                "voided",
                {"payment_status": "void"},
                [{**PURCHASE, "event": "authorization"}, {**PURCHASE, "event": "void"}],
                [("stripe", "voided", 0, 0)],
            ),
            (
                "declined",
                {"payment_status": "declined"},
                [{**PURCHASE, "event": "authorization"}],
                [("stripe", "not_paid", 0, 0)],
            ),
            (
                "a purchase that failed first",
                {},
                [{**PURCHASE, "status": "error"}, PURCHASE],
                [("stripe", "captured", 5250, 0)],
            ),
            (
                "settled repeats the purchase",
                {},
                [PURCHASE, {**PURCHASE, "event": "settled"}],
                [("stripe", "captured", 5250, 0)],
            ),
            (
                "store credit and a gift certificate by the order's own fields",
                {"store_credit_amount": "12.5000", "gift_certificate_amount": "10.0000"},
                [{**PURCHASE, "amount": 30}],
                [
                    ("stripe", "captured", 3000, 0),
                    ("storecredit", "captured", 1250, 0),
                    ("giftcertificate", "captured", 1000, 0),
                ],
            ),
            (
                "store credit that only its transaction tells",
                {},
                [{**PURCHASE, "gateway": "storecredit"}],
                [("storecredit", "captured", 5250, 0)],
            ),
            (
                "outside of BigCommerce, and the shop goes on",
                {"payment_status": "", "payment_method": "Bank Deposit"},
                [],
                [("bankdeposit", "captured", 5250, 0)],
            ),
            (
                "cash is called otherwise",
                {"payment_status": "", "payment_method": "Cash on Delivery", "store_credit_amount": "2.5000"},
                [],
                [("cod", "captured", 5000, 0), ("storecredit", "captured", 250, 0)],
            ),
            ("still awaited", {"payment_status": "", "status_id": 7, "payment_method": "Check"}, [], []),
            ("still pending at its gateway", {"payment_status": "pending"}, [], []),
            (
                "authorised without transactions",
                {"payment_status": "authorized"},
                [],
                [("stripe", "authorised", 0, 5250)],
            ),
            ("free of charge", {"total_inc_tax": "0.0000"}, [], []),
        ],
    )
    def test_what_was_paid_and_how(
        self,
        _case: str,
        changes: dict[str, Any],
        transactions: list[dict[str, Any]],
        expected: list[tuple[str, str, int, int]],
    ) -> None:
        moves = read_transactions(transactions)
        assert isinstance(moves, list)
        paid = payments_of(order(**changes), moves)
        assert [(p.provider, p.state.value, p.captured.minor, p.authorised.minor) for p in paid] == expected

    def test_a_provider_that_other_payers_return_money_for_is_referred_to(self) -> None:
        moves = read_transactions([PURCHASE])
        assert isinstance(moves, list)
        [payment] = order_facts(order(), [product()], moves).payments
        assert (payment.transaction_id, payment.provider_reference) == ("1001:stripe", "ch_1")

    def test_a_tender_is_told_as_such(self) -> None:
        payments = order_facts(order(store_credit_amount="52.5000"), [product()], []).payments
        assert [(p.transaction_id, p.tender) for p in payments] == [("1001:storecredit", Tender.STORE_CREDIT)]

    def facts(self, *records: dict[str, Any], reference: str = "1001:stripe", **changes: Any) -> Any:
        moves = read_transactions([PURCHASE, refund_transaction()])
        refunds = read_refunds(records, EUR)
        payment = payment_of(reference, "1001")
        assert isinstance(moves, list)
        assert isinstance(refunds, list)
        assert payment is not None
        return payment_facts(order(**changes), payment, moves, refunds)

    def test_refunds_carry_our_step_and_their_state(self) -> None:
        [fact] = self.facts(refund_json()).refunds
        assert (fact.reference, fact.amount, fact.status, fact.step_key) == (
            "21",
            WHOLE,
            RefundStatus.SUCCEEDED,
            STEP,
        )

    def test_a_declined_refund_counts_as_failed_and_takes_no_room(self) -> None:
        facts = self.facts(refund_json(payment={"is_declined": True}), refund_json(id=22, payment={}))
        assert [(r.reference, r.status) for r in facts.refunds] == [
            ("21", RefundStatus.FAILED),
            ("22", RefundStatus.SUCCEEDED),
        ]
        assert facts.refunded == 5250

    def test_money_recorded_by_hand_is_taken_from_the_gateway_first(self) -> None:
        by_hand = refund_json(payment={"provider_id": "custom", "offline": True, "amount": 45}, items=[])
        told_facts = {"store_credit_amount": "12.5000"}
        gateway = self.facts(by_hand, **told_facts)
        credit = self.facts(by_hand, reference="1001:storecredit", **told_facts)
        assert (gateway.refunded_elsewhere, credit.refunded_elsewhere) == (4500, 0)
        more = refund_json(payment={"provider_id": "custom", "offline": True, "amount": 60}, items=[])
        assert self.facts(more, reference="1001:storecredit", **told_facts).refunded_elsewhere == 750

    def test_a_disputed_order_has_a_disputed_payment_but_no_disputed_credit(self) -> None:
        assert self.facts(status_id=13).dispute is DisputeState.OPEN
        credit = self.facts(status_id=13, reference="1001:storecredit", store_credit_amount="12.5000")
        assert credit.dispute is DisputeState.NONE

    def test_a_payment_that_the_order_does_not_have_is_not_found(self) -> None:
        assert isinstance(self.facts(reference="1001:paypalexpress"), NotFound)

    def test_a_payment_that_is_being_captured_is_asked_for_later(self) -> None:
        shop = Shop(
            read_order=answer(200, {**ORDER, "payment_status": "capture pending"}),
            list_transactions=answer(200, {"data": [{**PURCHASE, "event": "authorization"}]}),
        )
        said = shop.connector.read_payment("1001", "1001:stripe")
        assert isinstance(said, Retryable)
        assert said.after_s == 900.0

    def test_no_transactions_are_a_204(self) -> None:
        shop = Shop(list_transactions=answer(204))
        facts = shop.connector.read_payment("1001", "1001")
        assert isinstance(facts, PaymentFacts)
        assert (facts.reference, facts.state) == ("1001:stripe", PaymentState.CAPTURED)


class TestSettling:
    """How one payment of a refund stands."""

    @pytest.mark.parametrize(
        ("_case", "payment", "transactions", "status"),
        [
            ("its transaction is there", {}, [refund_transaction()], RefundStatus.SUCCEEDED),
            ("it names one that is not shown", {}, [], RefundStatus.SUCCEEDED),
            (
                "its transaction failed, no decline yet",
                {},
                [refund_transaction(status="error")],
                RefundStatus.PENDING,
            ),
            (
                "a decline beats its transaction",
                {"is_declined": True},
                [refund_transaction()],
                RefundStatus.FAILED,
            ),
            ("recorded", {"offline": True, "transaction_id": ""}, [], RefundStatus.SUCCEEDED),
            ("accepted only", {"transaction_id": ""}, [], RefundStatus.PENDING),
            ("accepted only, null", {"transaction_id": None}, [PURCHASE], RefundStatus.PENDING),
            ("one like it went", {"transaction_id": ""}, [refund_transaction()], RefundStatus.SUCCEEDED),
            (
                "one like it failed",
                {"transaction_id": ""},
                [refund_transaction(status="error")],
                RefundStatus.PENDING,
            ),
            (
                "another amount went",
                {"transaction_id": ""},
                [refund_transaction(amount=1)],
                RefundStatus.PENDING,
            ),
            (
                "another provider's went",
                {"transaction_id": ""},
                [refund_transaction(gateway="storecredit")],
                RefundStatus.PENDING,
            ),
        ],
    )
    def test_one(
        self, _case: str, payment: dict[str, Any], transactions: list[dict[str, Any]], status: RefundStatus
    ) -> None:
        records = read_refunds([refund_json(payment=payment)], EUR)
        moves = read_transactions(transactions)
        assert isinstance(records, list)
        assert isinstance(moves, list)
        assert settle_payback(records[0].paybacks[0], records, moves) is status

    @pytest.mark.parametrize("is_declined", [True, False])
    def test_one_transaction_does_not_prove_two_refunds(self, is_declined: bool) -> None:
        twins = [
            refund_json(payment={"transaction_id": "", "is_declined": is_declined}),
            refund_json(id=22, payment={"transaction_id": ""}),
        ]
        records = read_refunds(twins, EUR)
        moves = read_transactions([refund_transaction()])
        assert isinstance(records, list)
        assert isinstance(moves, list)
        assert settle_payback(records[1].paybacks[0], records, moves) is RefundStatus.PENDING


class TestRefund:
    def test_a_lump_sum_is_quoted_claimed_and_sent_with_our_key(self) -> None:
        shop = Shop(refund=answer(201, {"data": refund_json(payment={"transaction_id": ""})}))
        assert shop.connector.refund(refund()) == Pending("21", 5.0)
        [claim] = shop.sent("claim")
        assert (claim.json["key"], claim.json["namespace"], claim.json["permission_set"]) == (
            f"{STEP}:1",
            "refundflow",
            "app_only",
        )
        [sent] = shop.sent("refund")
        assert sent.json == {
            "items": [
                {"item_type": "ORDER", "item_id": 1001, "amount": Decimal("52.50"), "reason": KEY},
            ],
            "payments": [{"provider_id": "stripe", "amount": Decimal("52.50"), "offline": False}],
        }
        assert [r.operation.removeprefix("bigcommerce.") for r in shop.http.requests] == [
            "read_order",
            "claim",
            "list_refunds",
            "quote_refund",
            "refund",
        ]

    def test_the_whole_order_is_quoted_with_all_that_is_left_of_it(self) -> None:
        before = refund_json(
            items=[
                {"item_type": "SHIPPING", "item_id": 40, "reason": "", "requested_amount": Decimal("4.00")}
            ],
            payment={"amount": 4},
        )
        shop = Shop(
            list_refunds=answer(200, {"data": [before]}),
            list_fees=answer(200, [{"id": 60, "cost_ex_tax": "1.5000", "cost_inc_tax": "1.7850"}]),
            refund=answer(201, {"data": refund_json(payment={"transaction_id": ""})}),
        )
        command = refund(lines=(LineQuantity("8", 2), LineQuantity("9", 1)), is_whole=True)
        assert isinstance(shop.connector.refund(command), Pending)
        [sent] = shop.sent("refund")
        assert [
            (i["item_type"], i["item_id"], i.get("quantity"), i.get("amount")) for i in sent.json["items"]
        ] == [
            ("PRODUCT", 8, 2, None),
            ("PRODUCT", 9, 1, None),
            ("SHIPPING", 40, None, Decimal("6.00")),
            ("FEE", 60, None, Decimal("1.50")),
        ]
        assert {i["reason"] for i in sent.json["items"]} == {KEY}

    @pytest.mark.parametrize(
        ("_case", "fees", "expected"),
        [
            ("none", answer(204), []),
            ("none, said otherwise", answer(200, []), []),
            ("none, said as not found", answer(404, [{"status": 404, "message": "no fees"}]), []),
            ("one, as described", answer(200, {"id": 60, "cost_ex_tax": "1.5000"}), [60]),
            ("several", answer(200, [{"id": 60, "cost_ex_tax": 1}, {"id": 61, "cost_ex_tax": 1}]), [60, 61]),
            ("free", answer(200, [{"id": 60, "cost_ex_tax": "0.0000"}]), []),
            ("unreadable", answer(200, [{"id": 60, "cost_ex_tax": "?"}]), None),
            ("not a list", answer(200, {}), None),
        ],
    )
    def test_fees_in_every_shape(self, _case: str, fees: Response, expected: list[int] | None) -> None:
        shop = Shop(list_fees=fees, refund=told(500))
        shop.connector.refund(refund(lines=(LineQuantity("8", 2),), is_whole=True))
        sent = shop.sent("quote_refund")
        assert bool(sent) is (expected is not None)
        assert [i["item_id"] for q in sent for i in q.json["items"] if i["item_type"] == "FEE"] == (
            expected or []
        )

    def test_what_the_units_do_not_sum_up_to_goes_back_as_a_lump(self) -> None:
        shop = Shop(
            quote_refund=[answer(201, quote_json("50.00")), answer(201, quote_json())],
            refund=answer(201, {"data": refund_json(payment={"transaction_id": ""})}),
        )
        command = refund(lines=(LineQuantity("8", 2),), is_whole=True)
        assert isinstance(shop.connector.refund(command), Pending)
        [sent] = shop.sent("refund")
        assert [i["item_type"] for i in sent.json["items"]] == ["ORDER"]
        assert "merchant_calculated_override" not in sent.json

    def test_a_share_of_units_that_the_refund_takes_out_is_forced_with_its_share_of_tax(self) -> None:
        part = refund_json(payment={"transaction_id": "", "amount": 20})
        shop = Shop(
            quote_refund=[
                answer(201, quote_json("52.50")),
                answer(201, quote_json("20.00")),
            ],
            refund=answer(201, {"data": part}),
        )
        command = refund(amount=Money(2000, EUR), lines=(LineQuantity("8", 2),), takes_out=True)
        assert isinstance(shop.connector.refund(command), Pending)
        forced = {"total_amount": Decimal("20.00"), "total_tax": Decimal("3.19")}
        assert [i["item_type"] for i in shop.sent("quote_refund")[1].json["items"]] == ["ORDER"]
        [sent] = shop.sent("refund")
        assert sent.json["merchant_calculated_override"] == forced
        [claim] = shop.sent("claim")
        takes, levels = read_note_value(claim.json["value"])
        assert (takes, levels) == ({"8": 2}, {77: {1: 3}, 78: {1: 0}})

    @pytest.mark.parametrize(
        ("_case", "changes", "total", "code"),
        [
            (
                "more than the units are worth",
                {"lines": (LineQuantity("8", 2),), "takes_out": True},
                "50.00",
                "amount_mismatch",
            ),
            ("less is left than the lump", {}, "50.00", "amount_mismatch"),
            ("another currency", {"amount": Money(5250, "USD")}, "52.50", "amount_mismatch"),
            ("nothing", {"amount": Money(0, EUR)}, "52.50", "amount_unsupported"),
            ("a line of another order", {"lines": (LineQuantity("99", 1),)}, "52.50", "unknown_line"),
        ],
    )
    def test_what_does_not_fit_is_not_sent(
        self, _case: str, changes: dict[str, Any], total: str, code: str
    ) -> None:
        shop = Shop(quote_refund=answer(201, quote_json(total)))
        said = shop.connector.refund(refund(**changes))
        assert isinstance(said, Permanent)
        assert said.code == code
        assert shop.sent("refund") == []

    @pytest.mark.parametrize(
        ("_case", "ways", "provider", "expected"),
        [
            ("the mirror, not the first", [[option("storecredit")], [option("stripe")]], "stripe", "stripe"),
            ("spelled otherwise", [[option("Stripe")]], "stripe", "Stripe"),
            ("store credit that was paid with", [[option("storecredit")]], "storecredit", "storecredit"),
            ("never store credit instead", [[option("storecredit")]], "stripe", "no_way_back"),
            (
                "never a part of a whole way",
                [[option("stripe", "40.00"), option("giftcertificate", "12.50")]],
                "stripe",
                "no_way_back",
            ),
            ("never another amount", [[option("stripe", "52.49")]], "stripe", "no_way_back"),
            ("only on paper", [[option("stripe", offline=True)]], "stripe", "offline_only"),
            ("both", [[option("stripe", offline=True)], [option("stripe")]], "stripe", "stripe"),
            ("nothing", [], "stripe", "no_way_back"),
            ("a record", [[option("stripe")], [option("custom", offline=True)]], "", "custom"),
            ("a record by its own offline way", [[option("cheque", offline=True)]], "", "cheque"),
            (
                "custom before others",
                [[option("cheque", offline=True)], [option("custom", offline=True)]],
                "",
                "custom",
            ),
            ("never a record by a gateway", [[option("stripe", offline=True)]], "", "no_offline_way"),
            ("never a record that pays", [[option("custom")]], "", "no_offline_way"),
        ],
    )
    def test_the_way_back(
        self, _case: str, ways: list[list[dict[str, Any]]], provider: str, expected: str
    ) -> None:
        quote = read_quote(
            answer(201, {"data": {"total_refund_amount": Decimal("52.50"), "refund_methods": ways}}), EUR
        )
        assert isinstance(quote, Quote)
        way = pick_way(quote, WHOLE, provider)
        assert (way.code if isinstance(way, Permanent) else way.provider_id) == expected

    @pytest.mark.parametrize(
        ("_case", "response", "family", "code"),
        [
            ("accepted", answer(201, {"data": refund_json(payment={"transaction_id": ""})}), Pending, ""),
            ("accepted, a transaction named at once", answer(201, {"data": refund_json()}), Pending, ""),
            (
                "declined at once",
                answer(
                    201, {"data": refund_json(payment={"is_declined": True, "declined_message": "Closed."})}
                ),
                Permanent,
                "refund_failed",
            ),
            (
                "another amount",
                answer(201, {"data": refund_json(payment={"amount": 50})}),
                Permanent,
                "amount_mismatch",
            ),
            ("no payments", answer(201, {"data": refund_json(payments=[])}), Unknown, ""),
            ("refused", told(422, "Guests have no store credit."), Permanent, "refused"),
            ("not settled", told(422, "The payment is not settled yet."), Retryable, "unavailable"),
            ("already refunded", told(422, "Already refunded."), Unknown, ""),
            (
                "503 is uncertain",
                answer(503, {"data": [{"status": 503, "error": "Tax service"}]}),
                Unknown,
                "",
            ),
            ("504", told(504), Unknown, ""),
            ("a page", answer(201, "<html>"), Unknown, ""),
        ],
    )
    def test_each_answer_is_worth(self, _case: str, response: Response, family: type, code: str) -> None:
        said = Shop(refund=response).connector.refund(refund())
        assert isinstance(said, family)
        assert getattr(said, "code", "") == code

    def test_a_quote_that_fails_leaves_no_doubt(self) -> None:
        shop = Shop(quote_refund=answer(503, {"data": [{"order_id": 1, "status": 503, "error": "Tax"}]}))
        said = shop.connector.refund(refund())
        assert isinstance(said, Retryable)
        assert shop.sent("refund") == []

    def test_a_list_that_cannot_be_had_sends_nothing(self) -> None:
        shop = Shop(list_refunds=answer(200, {"data": [{"id": 21}]}))
        assert isinstance(shop.connector.refund(refund()), Unknown)
        assert shop.sent("refund") == []

    def test_what_is_there_already_is_not_sent_again(self) -> None:
        shop = Shop(
            claim=told(409),
            list_refunds=answer(200, {"data": [refund_json()]}),
            list_transactions=answer(200, {"data": [PURCHASE, refund_transaction()]}),
        )
        assert shop.connector.refund(refund()) == Done("21", "transaction 601")
        assert shop.sent("refund") == []

    @pytest.mark.parametrize(
        ("_case", "age_s", "has_date", "is_sent"),
        [
            ("an attempt long ago", 60, True, True),
            ("an attempt that may still run", 10, True, False),
            ("no time told: the flow has waited", 10, False, True),
        ],
    )
    def test_a_claim_that_exists(self, _case: str, age_s: int, has_date: bool, is_sent: bool) -> None:
        created = (NOW - timedelta(seconds=age_s)).isoformat()
        notes = {"data": [note_json(f"{STEP}:1", note_value({}, None), created=created)]}
        headers = {"Date": "Wed, 25 Nov 2026 09:00:00 GMT"} if has_date else {}
        shop = Shop(
            claim=told(409),
            list_notes=answer(200, notes, headers),
            refund=answer(201, {"data": refund_json(payment={"transaction_id": ""})}),
        )
        said = shop.connector.refund(refund())
        assert isinstance(said, Pending if is_sent else Unknown)
        assert len(shop.sent("refund")) == is_sent

    def test_a_claim_that_cannot_be_read_sends_nothing(self) -> None:
        shop = Shop(claim=told(409), list_notes=answer(500))
        assert isinstance(shop.connector.refund(refund()), Unknown)
        assert isinstance(Shop(claim=answer(409, "<html>")).connector.refund(refund()), Unknown)

    def test_a_disputed_order_is_not_refunded(self) -> None:
        shop = Shop(read_order=answer(200, {**ORDER, "status_id": 13}))
        said = shop.connector.refund(refund())
        assert isinstance(said, Permanent)
        assert (said.code, shop.sent("claim")) == ("disputed", [])

    def test_trouble_on_the_wire_passes_through(self) -> None:
        shop = Shop(refund=lambda _: MaybeSentError("cut"))
        with pytest.raises(MaybeSentError):
            shop.connector.refund(refund())


class TestFindRefund:
    @pytest.mark.parametrize(
        ("_case", "records", "transactions", "expected"),
        [
            ("ours, proven", [refund_json()], [refund_transaction()], Done("21", "transaction 601")),
            ("ours, accepted", [refund_json(payment={"transaction_id": ""})], [], Pending("21")),
            (
                "ours, declined",
                [refund_json(payment={"is_declined": True, "declined_message": "Closed."})],
                [refund_transaction()],
                Permanent("refund_failed", "refund 21: Closed."),
            ),
            (
                "ours over another amount",
                [refund_json(payment={"amount": 50})],
                [],
                Permanent("amount_mismatch", "asked for 52.50 EUR, refund 21 gives back 50.00 EUR"),
            ),
            (
                "ours twice",
                [refund_json(), refund_json(id=22)],
                [],
                Permanent("amount_mismatch", "asked for 52.50 EUR once, refunds 21 and 22 are both ours"),
            ),
            (
                "ours, only on paper",
                [refund_json(payment={"offline": True})],
                [],
                Permanent("recorded_only", "refund 21 was only written down, no money moved: pay it by hand"),
            ),
            (
                "a declined one beside a living one",
                [refund_json(payment={"is_declined": True}), refund_json(id=22)],
                [refund_transaction()],
                Done("22", "transaction 601"),
            ),
            (
                "somebody else's, nothing is left",
                [refund_json(items=[])],
                [],
                Permanent(
                    "refunded_elsewhere",
                    "52.50 EUR of 52.50 EUR went back by other refunds: 52.50 EUR are not left",
                ),
            ),
            ("nothing", [], [], NotFound(CONCLUSIVE_S, "no refund carries our reference")),
        ],
    )
    def test_what_the_list_says(
        self, _case: str, records: list[Any], transactions: list[Any], expected: Any
    ) -> None:
        shop = Shop(
            list_refunds=answer(200, {"data": records}),
            list_transactions=answer(200, {"data": [PURCHASE, *transactions]}),
        )
        assert shop.connector.find_refund(refund()) == expected

    def test_a_decline_of_an_earlier_key_does_not_speak_for_the_next(self) -> None:
        shop = Shop(
            list_refunds=answer(200, {"data": [refund_json(payment={"is_declined": True})]}),
        )
        assert isinstance(shop.connector.find_refund(refund(key=wire_key(STEP, 2))), NotFound)

    def test_living_money_of_an_earlier_key_does(self) -> None:
        shop = Shop(
            list_refunds=answer(200, {"data": [refund_json()]}),
            list_transactions=answer(200, {"data": [PURCHASE, refund_transaction()]}),
        )
        assert isinstance(shop.connector.find_refund(refund(key=wire_key(STEP, 2))), Done)

    @pytest.mark.parametrize("step", [f"{STEP}0", f"{CASE}.refund.11", "RF-1.refund.1"])
    def test_a_reference_that_only_begins_like_ours_is_not_ours(self, step: str) -> None:
        items = [{"item_type": "ORDER", "item_id": 1001, "reason": wire_key(StepKey(step), 1)}]
        shop = Shop(
            list_refunds=answer(200, {"data": [refund_json(items=items, payment={"amount": 1})]}),
        )
        said = shop.connector.find_refund(refund(amount=Money(100, EUR)))
        assert isinstance(said, NotFound)

    @pytest.mark.parametrize(
        "answers",
        [
            {"list_refunds": answer(404, {"status": 404, "title": "gone"})},
            {"list_refunds": answer(200, {"data": [{"id": 1}]})},
            {"list_refunds": answer(200, {"data": [refund_json()]}), "list_transactions": answer(500)},
            {"read_order": told(404)},
        ],
    )
    def test_a_look_without_an_answer_is_no_word_about_the_money(self, answers: dict[str, Any]) -> None:
        said = Shop(**answers).connector.find_refund(refund())
        assert isinstance(said, Unknown)


class TestRecord:
    def test_it_is_written_down_by_the_offline_way_with_the_payers_references(self) -> None:
        recorded = refund_json(payment={"provider_id": "custom", "offline": True})
        shop = Shop(record_order_refund=answer(201, {"data": recorded}))
        said = shop.connector.record_order_refund(record())
        assert said == Done("21", "recorded; BigCommerce moved no money")
        [sent] = shop.sent("record_order_refund")
        assert sent.json["payments"] == [
            {"provider_id": "custom", "amount": Decimal("52.50"), "offline": True}
        ]
        assert sent.json["items"][0]["reason"] == f"{KEY} (re_9)"

    @pytest.mark.parametrize("status_id", [4, 5, 10, 13, 14])
    def test_no_status_stands_in_its_way(self, status_id: int) -> None:
        shop = Shop(
            read_order=answer(200, {**ORDER, "status_id": status_id}),
            record_order_refund=told(500),
        )
        assert isinstance(shop.connector.record_order_refund(record()), Unknown)
        assert len(shop.sent("record_order_refund")) == 1

    def test_a_reason_is_never_longer_than_allowed(self) -> None:
        shop = Shop(record_order_refund=told(500))
        shop.connector.record_order_refund(record(refund_references="r" * 2000))
        [sent] = shop.sent("record_order_refund")
        assert len(sent.json["items"][0]["reason"]) == 1000

    @pytest.mark.parametrize(
        ("_case", "records", "family", "code"),
        [
            ("ours", [refund_json(payment={"offline": True})], Done, ""),
            ("nothing", [], NotFound, ""),
            ("ours moved money", [refund_json()], Permanent, "amount_mismatch"),
            (
                "ours over another amount",
                [refund_json(payment={"offline": True, "amount": 5})],
                Permanent,
                "amount_mismatch",
            ),
            (
                "ours twice",
                [refund_json(payment={"offline": True}), refund_json(id=22, payment={"offline": True})],
                Permanent,
                "amount_mismatch",
            ),
            ("somebody else's", [refund_json(items=[], payment={"offline": True})], NotFound, ""),
        ],
    )
    def test_what_the_list_says(self, _case: str, records: list[Any], family: type, code: str) -> None:
        shop = Shop(list_refunds=answer(200, {"data": records}))
        said = shop.connector.find_record_order_refund(record())
        assert isinstance(said, family)
        assert getattr(said, "code", "") == code


class TestCancel:
    def test_only_status_and_notes_are_sent(self) -> None:
        shop = Shop(cancel_order=answer(200, {**ORDER, "status_id": 5}))
        assert shop.connector.cancel_order(cancel()) == Done("1001")
        [sent] = shop.sent("cancel_order")
        assert sent.json == {
            "status_id": 5,
            "staff_notes": f"refundflow {CASE}.cancel_order.1: cancelled (customer)\ncall first",
        }
        [claim] = shop.sent("claim")
        assert read_note_value(claim.json["value"]) == (None, {77: {1: 3}, 78: {1: 0}})
        assert shop.http.requests[-1] is sent

    def test_levels_that_may_not_be_read_do_not_stop_the_cancel(self) -> None:
        shop = Shop(
            list_stock=told(403),
            cancel_order=answer(200, {**ORDER, "status_id": 5}),
        )
        assert isinstance(shop.connector.cancel_order(cancel()), Done)
        [claim] = shop.sent("claim")
        assert read_note_value(claim.json["value"]) == (None, None)

    @pytest.mark.parametrize("stock", [answer(500), answer(429, ""), answer(200, {"data": [{}]})])
    def test_levels_that_do_not_come_now_do(self, stock: Response) -> None:
        shop = Shop(list_stock=stock)
        assert isinstance(shop.connector.cancel_order(cancel()), Unknown | Retryable)
        assert shop.sent("cancel_order") == []

    @pytest.mark.parametrize(
        ("_case", "changes", "family", "code"),
        [
            (
                "ours",
                {"status_id": 5, "staff_notes": f"refundflow {CASE}.cancel_order.1: cancelled (x)"},
                Done,
                "",
            ),
            ("somebody else's", {"status_id": 5}, AlreadyDone, ""),
            ("refunded in full", {"status_id": 4}, AlreadyDone, ""),
            ("shipped", {"status_id": 2}, Permanent, "shipped_meanwhile"),
            ("partly shipped", {"status_id": 3}, Permanent, "shipped_meanwhile"),
            (
                "refunded after it was shipped",
                {"status_id": 4, "items_shipped": 3},
                Permanent,
                "shipped_meanwhile",
            ),
            ("disputed", {"status_id": 13}, Permanent, "disputed"),
            ("archived", {"is_deleted": True}, Permanent, "archived"),
            (
                "set back",
                {"status_id": 9, "staff_notes": f"refundflow {CASE}.cancel_order.1: cancelled (x)"},
                Permanent,
                "cancel_undone",
            ),
        ],
    )
    def test_what_the_order_says_before(
        self, _case: str, changes: dict[str, Any], family: type, code: str
    ) -> None:
        shop = Shop(read_order=answer(200, {**ORDER, **changes}))
        said = shop.connector.cancel_order(cancel())
        assert isinstance(said, family)
        assert getattr(said, "code", "") == code
        assert shop.sent("cancel_order") == []

    def test_shipped_units_that_only_the_lines_tell_stop_it(self) -> None:
        shop = Shop(list_products=answer(200, [{**PRODUCTS[0], "quantity_shipped": 1}]))
        said = shop.connector.cancel_order(cancel())
        assert isinstance(said, Permanent)
        assert said.code == "shipped_meanwhile"

    def test_a_restock_is_never_promised(self) -> None:
        said = Shop().connector.cancel_order(cancel(restock=True))
        assert isinstance(said, Permanent)
        assert said.code == "restock_not_carried"

    @pytest.mark.parametrize(
        ("_case", "response", "family"),
        [
            ("another status", answer(200, ORDER), Permanent),
            ("another order", answer(200, {**ORDER, "id": 7, "status_id": 5}), Unknown),
            ("refused", answer(400, [{"status": 400, "message": "no"}]), Permanent),
            ("broken", answer(502, "<html>"), Unknown),
        ],
    )
    def test_each_answer_is_worth(self, _case: str, response: Response, family: type) -> None:
        shop = Shop(cancel_order=response)
        assert isinstance(shop.connector.cancel_order(cancel()), family)

    def test_long_notes_are_cut_below_ours(self) -> None:
        shop = Shop(read_order=answer(200, {**ORDER, "staff_notes": "x" * 65535}), cancel_order=answer(500))
        shop.connector.cancel_order(cancel())
        [sent] = shop.sent("cancel_order")
        assert len(sent.json["staff_notes"]) <= 65535
        assert sent.json["staff_notes"].startswith("refundflow ")


def void(**changes: Any) -> VoidPayment:
    command = VoidPayment(
        step_key=STEP, key=KEY, order_id="1001", payment_reference="1001:stripe", amount=WHOLE
    )
    return replace(command, **changes)


class TestVoid:
    @pytest.mark.parametrize(
        ("_case", "status", "voids", "family", "code"),
        [
            ("void", "void", [{}], Done, ""),
            ("void, no transaction tells", "void", [], Done, ""),
            ("void of less", "void", [{"amount": 5}], Permanent, "amount_mismatch"),
            ("void in another currency", "void", [{"currency": "USD"}], Permanent, "amount_mismatch"),
            ("under way", "void pending", [], Pending, ""),
            ("captured", "captured", [], Permanent, "captured_meanwhile"),
            ("being captured", "capture pending", [], Permanent, "captured_meanwhile"),
            ("declined", "declined", [], Permanent, "not_voidable"),
            ("new to us", "on hold", [], Unknown, ""),
            ("nothing said", "", [], Unknown, ""),
        ],
    )
    def test_what_the_order_says(
        self, _case: str, status: str, voids: list[dict[str, Any]], family: type, code: str
    ) -> None:
        moves = [{**PURCHASE, "event": "authorization"}, *({**PURCHASE, "event": "void", **v} for v in voids)]
        for method in ("void_payment", "find_void_payment"):
            shop = Shop(
                read_order=answer(200, {**ORDER, "payment_status": status}),
                list_transactions=answer(200, {"data": moves}),
            )
            said = getattr(shop.connector, method)(void())
            assert isinstance(said, family)
            assert getattr(said, "code", "") == code
            assert [r for r in shop.http.requests if r.method == "POST"] == []

    @pytest.mark.parametrize(
        ("response", "family"),
        [
            (answer(201, {}), Pending),
            (answer(201, ""), Unknown),
            (told(422), Permanent),
            (told(502), Unknown),
        ],
    )
    def test_accepted_is_not_released(self, response: Response, family: type) -> None:
        held = {**ORDER, "payment_status": "authorized"}
        shop = Shop(read_order=answer(200, held), void_payment=response)
        assert isinstance(shop.connector.void_payment(void()), family)

    def test_an_authorisation_that_stands_is_an_absence(self) -> None:
        shop = Shop(read_order=answer(200, {**ORDER, "payment_status": "authorized"}))
        assert isinstance(shop.connector.find_void_payment(void()), NotFound)


class TestQuote:
    def facts(self, *, is_captured: bool = True) -> OrderFacts:
        moves = read_transactions([PURCHASE] if is_captured else [])
        assert isinstance(moves, list)
        lines = read_product(PRODUCTS[0], EUR)
        assert lines is not None
        facts = order_facts(order(payment_status="captured" if is_captured else "authorized"), [lines], moves)
        return facts

    def test_it_is_bigcommerces_own_sum_with_wrapping(self) -> None:
        shop = Shop(list_products=answer(200, [{**PRODUCTS[0], "wrapping_cost_inc_tax": "3.0000"}]))
        said = shop.connector.quote_lines(self.facts(), (LineQuantity("8", 1),))
        assert said == WHOLE
        [sent] = shop.sent("quote_refund")
        assert [(i["item_type"], i["item_id"], i["quantity"]) for i in sent.json["items"]] == [
            ("PRODUCT", 8, 1),
            ("GIFT_WRAPPING", 8, 1),
        ]

    @pytest.mark.parametrize(
        ("_case", "is_captured", "family"),
        [("captured: wait for it", True, Retryable), ("never captured: the prices", False, Money)],
    )
    def test_what_is_not_settled(self, _case: str, is_captured: bool, family: type) -> None:
        shop = Shop(quote_refund=told(422, "The payment is not settled."))
        said = shop.connector.quote_lines(self.facts(is_captured=is_captured), (LineQuantity("8", 1),))
        assert isinstance(said, family)
        if isinstance(said, Money):
            assert said == Money(1500, EUR)

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"total_refund_amount": 0, "refund_methods": []},
            {"total_refund_amount": Decimal("1.005"), "refund_methods": []},
            {"total_refund_amount": 5, "refund_methods": [{}]},
            {"total_refund_amount": 5, "refund_methods": [[{"provider_id": "stripe"}]]},
            {
                "total_refund_amount": "5",
                "refund_methods": [[{"provider_id": "x", "amount": "y", "offline": False}]],
            },
        ],
    )
    def test_a_quote_that_cannot_be_read_is_none(self, data: dict[str, Any]) -> None:
        assert isinstance(read_quote(answer(201, {"data": data}), EUR), Unknown)


class TestStock:
    BEFORE: ClassVar = {77: {1: 3}, 78: {1: 0}}

    @pytest.mark.parametrize(
        ("_case", "now", "others", "expected"),
        [
            ("nothing", {77: {1: 3}, 78: {1: 0}}, {}, Moved.STILL),
            ("all", {77: {1: 5}, 78: {1: 1}}, {}, Moved.BACK),
            ("to another place", {77: {1: 3, 2: 2}, 78: {1: 1}}, {}, Moved.BACK),
            ("a part", {77: {1: 5}, 78: {1: 0}}, {}, Moved.OTHER),
            ("a sale meanwhile", {77: {1: 4}, 78: {1: 1}}, {}, Moved.OTHER),
            ("gone from the list", {77: {1: 5}}, {}, Moved.OTHER),
            ("more than was asked for", {77: {1: 5}, 78: {1: 1}, 79: {1: 4}}, {79: 4}, Moved.OTHER),
        ],
    )
    def test_levels_compared(self, _case: str, now: Any, others: dict[int, int], expected: Moved) -> None:
        before = {**self.BEFORE, **({79: {1: 0}} if others else {})}
        assert moved(before, now, {77: 2, 78: 1}, others) is expected

    @pytest.mark.parametrize(
        ("_case", "setting", "is_paid_back", "takes", "change", "expected"),
        [
            ("off, untouched", False, True, None, "still", "add"),
            ("off, sales meanwhile", False, True, None, "other", "add"),
            ("off, nothing noted", False, True, None, "none", "add"),
            ("off, and yet they came back", False, True, None, "back", "person"),
            ("on, came back", True, False, None, "back", "back"),
            ("on, not yet, money still out", True, False, None, "still", "wait"),
            ("on, not at all, money back", True, True, None, "still", "add"),
            ("on, unclear", True, True, None, "other", "person"),
            ("on, unclear, money still out", True, False, None, "other", "person"),
            ("on, nothing noted", True, True, None, "none", "person"),
            ("a part, on, untouched", True, False, {"8": 2, "9": 1}, "still", "add"),
            ("a part, on, sales meanwhile", True, False, {"8": 2, "9": 1}, "other", "add"),
            ("a part, on, and yet they came back", True, False, {"8": 2, "9": 1}, "back", "back"),
            ("the last part, on, untouched", True, True, {"8": 2, "9": 1}, "still", "add"),
            ("the last part, on, unclear", True, True, {"8": 2, "9": 1}, "other", "person"),
        ],
    )
    def test_who_puts_units_back(
        self,
        _case: str,
        setting: bool,
        is_paid_back: bool,
        takes: dict[str, int] | None,
        change: str,
        expected: str,
    ) -> None:
        now = {
            "still": self.BEFORE,
            "back": {77: {1: 5}, 78: {1: 1}},
            "other": {77: {1: 4}, 78: {1: 1}},
            "none": self.BEFORE,
        }[change]
        kind = "cancel_order" if takes is None else "refund"
        levels = None if change == "none" else self.BEFORE
        note = Note(1, f"{CASE}.{kind}.1:1", takes, levels)
        shown = order(status_id=5 if takes is None else 14)
        stock = self.stock(shown, [note], now)
        habits = Habits(StockSettings(setting, True), is_paid_back)
        assert judge_stock(restock(), stock, habits) is StockVerdict(expected)

    def stock(self, shown: Order, notes: list[Note], now: Any) -> Stock:
        products = [product(), product(**PRODUCTS[1])]
        return Stock(Scene(shown, products, notes, None, None), now, {77: 2, 78: 1})

    @pytest.mark.parametrize(
        ("_case", "shipped", "is_return", "expected"),
        [
            ("never out", 0, False, "never_taken"),
            ("some were, which is not told", 1, False, "person"),
            ("shipped and back", 3, True, "add"),
        ],
    )
    def test_a_store_that_takes_stock_when_it_ships(
        self, _case: str, shipped: int, is_return: bool, expected: str
    ) -> None:
        stock = self.stock(order(status_id=5, items_shipped=shipped), [], self.BEFORE)
        habits = Habits(StockSettings(False, False), True)
        assert judge_stock(restock(is_return=is_return), stock, habits) is StockVerdict(expected)

    def test_notes_of_other_cases_and_of_restocks_do_not_count(self) -> None:
        notes = [
            Note(1, "RF-000000000000000.cancel_order.1:1", None, self.BEFORE),
            Note(2, f"{CASE}.restock.2:1", {"8": 2, "9": 1}, self.BEFORE),
            Note(3, f"{CASE}.refund.1:1", {}, None),
        ]
        stock = self.stock(order(status_id=5), notes, self.BEFORE)
        habits = Habits(StockSettings(True, True), True)
        assert judge_stock(restock(), stock, habits) is StockVerdict.PERSON

    def test_a_note_says_what_was_said(self) -> None:
        assert read_note_value(note_value({"8": 2}, self.BEFORE)) == ({"8": 2}, self.BEFORE)
        assert read_note_value(note_value(None, None)) == (None, None)
        huge = {n: {1: 10**9} for n in range(10_000)}
        assert read_note_value(note_value(None, huge)) == (None, None)
        for foreign in ("started", "", "[]", '{"takes": 5}'):
            assert read_note_value(foreign) == ({}, None)

    def shop(self, **answers: Any) -> Shop:
        settings = {"refund_order_stock_adjustment": False, "update_stock_behavior": "order_placed"}
        own = dict.fromkeys(settings)

        def told_settings(request: Request) -> Response:
            return answer(200, {"data": own if request.params else settings})

        given = {
            "read_order": answer(200, {**ORDER, "status_id": 5}),
            "stock_settings": told_settings,
            "restock": answer(200, {"transaction_id": "adj-1"}),
            **answers,
        }
        return Shop(**given)

    def test_the_adjustment_names_place_variant_and_key_and_comes_last(self) -> None:
        shop = self.shop()
        assert shop.connector.restock(restock()) == Done("adj-1")
        [sent] = shop.sent("restock")
        assert sent.json == {
            "reason": restock().key,
            "items": [
                {"location_id": 1, "variant_id": 77, "quantity": 2},
                {"location_id": 1, "variant_id": 78, "quantity": 1},
            ],
        }
        assert shop.http.requests[-1] is sent
        [claim] = shop.sent("claim")
        assert read_note_value(claim.json["value"]) == ({"8": 2, "9": 1}, self.BEFORE)

    def test_variants_of_several_lines_are_added_together(self) -> None:
        twins = [PRODUCTS[0], {**PRODUCTS[0], "id": 9, "quantity": 1}]
        shop = self.shop(list_products=answer(200, twins))
        shop.connector.restock(restock())
        [sent] = shop.sent("restock")
        assert sent.json["items"] == [{"location_id": 1, "variant_id": 77, "quantity": 3}]

    @pytest.mark.parametrize(
        ("_case", "now", "family", "sends"),
        [
            ("it was not done", {77: 3, 78: 0}, Done, 1),
            ("it was done", {77: 5, 78: 1}, Done, 0),
            ("it cannot be told", {77: 4, 78: 1}, Permanent, 0),
        ],
    )
    def test_an_attempt_that_began_before(
        self, _case: str, now: dict[int, int], family: type, sends: int
    ) -> None:
        note = note_json(f"{restock().step_key}:1", note_value({"8": 2, "9": 1}, self.BEFORE))
        shop = self.shop(list_notes=answer(200, {"data": [note]}), list_stock=answer(200, stock_json(now)))
        assert isinstance(shop.connector.restock(restock()), family)
        assert (len(shop.sent("restock")), shop.sent("claim")) == (sends, [])

    def test_an_attempt_that_may_still_run_is_left_alone(self) -> None:
        note = note_json(
            f"{restock().step_key}:1", note_value({}, self.BEFORE), created="2026-11-25T08:59:50+00:00"
        )
        headers = {"Date": "Wed, 25 Nov 2026 09:00:00 GMT"}
        shop = self.shop(list_notes=answer(200, {"data": [note]}, headers))
        assert isinstance(shop.connector.restock(restock()), Unknown)
        assert shop.sent("restock") == []

    @pytest.mark.parametrize(
        ("_case", "answers", "command", "code"),
        [
            ("carried", {}, restock(carried_by="x"), "restock_not_carried"),
            ("another shop's order", {}, restock(order_id=""), "no_order"),
            ("a line that is not there", {}, restock(lines=(LineQuantity("5", 1),)), "unknown_line"),
            ("a place that is none", {}, restock(location="cellar"), "unknown_location"),
            (
                "no place",
                {"list_stock": answer(200, {"data": [{"identity": {"variant_id": 77}, "locations": []}]})},
                restock(),
                "no_location",
            ),
            ("the order is gone", {"read_order": told(404)}, restock(), "not_found"),
            ("refused", {"restock": told(422)}, restock(), "refused"),
        ],
    )
    def test_what_cannot_be_put_back(
        self, _case: str, answers: dict[str, Any], command: Restock, code: str
    ) -> None:
        said = self.shop(**answers).connector.restock(command)
        assert isinstance(said, Permanent)
        assert said.code == code

    @pytest.mark.parametrize(
        "answers",
        [
            {"stock_settings": answer(200, {"data": {}})},
            {"stock_settings": answer(200, {"data": {"refund_order_stock_adjustment": None}})},
            {"stock_settings": answer(500)},
            {"list_stock": answer(200, {"data": [], "meta": {"pagination": {"total_pages": 2}}})},
            {"list_stock": answer(200, {"data": [{"identity": {"variant_id": 77}, "locations": [{}]}]})},
            {"list_notes": answer(200, {"data": [{}]})},
            {"claim": answer(409, "?")},
            {"restock": answer(200, {})},
            {"restock": answer(504)},
        ],
    )
    def test_what_cannot_be_read_is_never_taken_for_a_yes(self, answers: dict[str, Any]) -> None:
        assert isinstance(self.shop(**answers).connector.restock(restock()), Unknown)

    def test_a_person_is_told_what_to_look_at(self) -> None:
        shop = self.shop(stock_settings=self.on, list_stock=answer(200, stock_json({77: 4, 78: 1})))
        said = shop.connector.restock(restock())
        assert isinstance(said, Permanent)
        assert "2 x POSTER (now 4), 1 x FRAME (now 1)" in said.reason
        assert "order 1001" in said.reason

    def on(self, request: Request) -> Response:
        return answer(
            200,
            {"data": {"refund_order_stock_adjustment": True, "update_stock_behavior": "order_placed"}},
        )

    def test_a_manual_order_follows_the_stores_own_setting(self) -> None:
        shop = self.shop(read_order=answer(200, {**ORDER, "status_id": 5, "order_source": "manual"}))
        assert isinstance(shop.connector.restock(restock()), Done)
        asked = [r.params for r in shop.http.requests if r.operation == "bigcommerce.stock_settings"]
        assert asked == [[]]

    @pytest.mark.parametrize(
        ("_case", "date", "wait_s"),
        [
            ("just cancelled", "Wed, 25 Nov 2026 08:05:00 GMT", 150.0),
            ("the payment has to settle first", "Wed, 25 Nov 2026 09:05:00 GMT", 7200.0),
            ("no time told", "", 150.0),
        ],
    )
    def test_it_waits_for_the_money_as_long_as_that_takes(self, _case: str, date: str, wait_s: float) -> None:
        note = note_json(f"{CASE}.cancel_order.1:1", note_value(None, self.BEFORE))
        notes = answer(200, {"data": [note]}, {"Date": date} if date else {})
        said = self.shop(stock_settings=self.on, list_notes=notes).connector.restock(restock())
        assert isinstance(said, Retryable)
        assert (said.code, said.after_s) == ("unavailable", wait_s)

    def test_money_is_read_before_the_levels(self) -> None:
        note = note_json(f"{CASE}.cancel_order.1:1", note_value(None, self.BEFORE))
        shop = self.shop(stock_settings=self.on, list_notes=answer(200, {"data": [note]}))
        said = shop.connector.restock(restock())
        assert isinstance(said, Retryable)
        names = [r.operation.removeprefix("bigcommerce.") for r in shop.http.requests]
        assert names.index("list_refunds") < names.index("list_stock")


class TestPolling:
    def test_it_begins_a_day_back_and_asks_for_the_oldest_first(self) -> None:
        http = FakeHttp(answer(204))
        said = BigCommerce(http).poll("", NOW)
        assert said == Polled((), "2026-11-24T09:00:00+00:00")
        assert dict(http.sent.params) == {
            "min_date_modified": "2026-11-24T09:00:00+00:00",
            "sort": "date_modified:asc",
            "limit": "250",
            "page": "1",
        }

    @pytest.mark.parametrize(
        ("cursor", "expected"),
        [
            ("2026-11-25T08:00:00+00:00", ("2026-11-25T08:00:00+00:00", 1)),
            ("2026-11-25T08:00:00+00:00|3", ("2026-11-25T08:00:00+00:00", 3)),
            ("2026-11-25T08:00:00+00:00|x", ("2026-11-25T08:00:00+00:00", 1)),
            ("nonsense", ("2026-11-24T09:00:00+00:00", 1)),
        ],
    )
    def test_cursors(self, cursor: str, expected: tuple[str, int]) -> None:
        assert read_cursor(cursor, NOW) == expected

    def test_what_is_news_is_told_as_a_delivery_would(self) -> None:
        listed = [
            {"id": n, "status_id": status, "date_modified": "Wed, 25 Nov 2026 08:30:00 +0000"}
            for n, status in ((1, 5), (2, 11), (3, 13), (4, 4), (5, 14))
        ]
        polled = read_polled(listed, "2026-11-25T08:00:00+00:00", 1)
        assert isinstance(polled, Polled)
        assert polled.cursor == "2026-11-25T08:25:00+00:00"
        inbound = BigCommerceInbound(Secret("s"), Secret("t"))
        readings = [inbound.read_event(e.topic, e.body) for e in polled.events]
        assert [type(r) for r in readings] == [
            OrderCancelledElsewhere,
            DisputeSeen,
            PaymentRefundsChanged,
            PaymentRefundsChanged,
        ]
        assert [e.source_event_id for e in polled.events] == [
            "poll:1:5",
            "poll:3:13",
            "poll:4:4",
            "poll:5:14",
        ]

    def test_a_window_never_moves_backward(self) -> None:
        listed = [{"id": 1, "status_id": 5, "date_modified": "Wed, 25 Nov 2026 08:01:00 +0000"}]
        polled = read_polled(listed, "2026-11-25T08:00:00+00:00", 1)
        assert isinstance(polled, Polled)
        assert polled.cursor == "2026-11-25T08:00:00+00:00"

    def test_a_full_page_goes_on(self) -> None:
        listed = [{"id": n, "status_id": 11} for n in range(1, 251)]
        polled = read_polled(listed, "2026-11-25T08:00:00+00:00", 2)
        assert polled == Polled((), "2026-11-25T08:00:00+00:00|3", True)

    @pytest.mark.parametrize("response", [answer(200, [{"id": "x"}]), answer(200, "[]"), answer(500)])
    def test_what_cannot_be_read_moves_nothing(self, response: Response) -> None:
        assert isinstance(BigCommerce(FakeHttp(response)).poll("", NOW), Unknown)


class TestDeliveries:
    SECRET, TOKEN = "client-secret", "hook-token"
    STATUS = "store/order/statusUpdated"
    REF = OrderRef("bigcommerce", "1001", "1001")

    def event(self, scope: str = STATUS, **data: Any) -> bytes:
        body = {
            "store_id": "1",
            "producer": "stores/abc",
            "scope": scope,
            "hash": "3f9e",
            "created_at": 1795343400,
            "data": {"type": "order", "id": 1001, **data},
        }
        return json.dumps(body).encode()

    def headers(self, body: bytes, **changes: str) -> dict[str, str]:
        at = changes.pop("at", str(int(NOW.timestamp())))
        signature = sign_base64(changes.pop("secret", self.SECRET), f"msg_1.{at}.".encode() + body)
        made = {
            "webhook-id": "msg_1",
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{signature}",
            "x-refundflow-token": self.TOKEN,
        }
        made |= {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in made.items() if value}

    def inbound(self, **changes: Any) -> BigCommerceInbound:
        made = BigCommerceInbound(Secret(self.SECRET), Secret(self.TOKEN), "abc")
        return replace(made, **changes)

    @pytest.mark.parametrize(
        ("_case", "changes", "setup", "is_good"),
        [
            ("both proofs", {}, {}, True),
            ("a wrong token", {"x_refundflow_token": "wrong"}, {}, False),
            ("no token", {"x_refundflow_token": ""}, {}, False),
            ("a wrong secret", {"secret": "wrong"}, {}, False),
            ("a signature that is none", {"webhook_signature": "v1,AAAA"}, {}, False),
            ("another scheme", {"webhook_signature": "v2,AAAA"}, {}, False),
            ("no signature", {"webhook_signature": ""}, {}, False),
            ("no id", {"webhook_id": ""}, {}, False),
            ("another id than signed", {"webhook_id": "msg_2"}, {}, False),
            ("a time that is none", {"webhook_timestamp": "now"}, {}, False),
            ("another time than signed", {"webhook_timestamp": str(int(NOW.timestamp()) + 1)}, {}, False),
            ("old", {"at": str(int(NOW.timestamp()) - 301)}, {}, False),
            ("dated ahead", {"at": str(int(NOW.timestamp()) + 301)}, {}, False),
            ("just in time", {"at": str(int(NOW.timestamp()) - 300)}, {}, True),
            ("a secret that is rotated", {}, {"client_secret": Secret("new, client-secret")}, True),
            ("a token that is rotated", {}, {"hook_token": Secret("new,hook-token")}, True),
            ("signature alone, no token set up", {"x_refundflow_token": ""}, {"hook_token": Secret()}, True),
            ("nothing set up", {}, {"hook_token": Secret(), "client_secret": Secret()}, False),
            ("no secret set up", {}, {"client_secret": Secret()}, False),
            ("another store", {}, {"store_hash": "xyz"}, False),
            ("any store", {}, {"store_hash": ""}, True),
        ],
    )
    def test_who_is_believed(
        self, _case: str, changes: dict[str, str], setup: dict[str, Any], is_good: bool
    ) -> None:
        body = self.event(status={"new_status_id": 5})
        said = self.inbound(**setup).verify(Delivery(self.headers(body, **changes), body), NOW)
        assert isinstance(said, Verified if is_good else Refused)

    @pytest.mark.parametrize(
        ("_case", "is_signed", "is_token_good", "setup", "is_good"),
        [
            ("unsigned and allowed", False, True, {"is_signature_required": False}, True),
            ("unsigned, a wrong token", False, False, {"is_signature_required": False}, False),
            (
                "unsigned, no token set up",
                False,
                True,
                {"is_signature_required": False, "hook_token": Secret()},
                False,
            ),
            (
                "signed wrongly is never allowed",
                True,
                True,
                {"is_signature_required": False, "client_secret": Secret("x")},
                False,
            ),
            (
                "signed, no secret set up",
                True,
                True,
                {"is_signature_required": False, "client_secret": Secret()},
                True,
            ),
            ("unsigned and not allowed", False, True, {}, False),
        ],
    )
    def test_deliveries_without_a_signature(
        self, _case: str, is_signed: bool, is_token_good: bool, setup: dict[str, Any], is_good: bool
    ) -> None:
        body = self.event(status={"new_status_id": 5})
        headers = self.headers(body, x_refundflow_token=self.TOKEN if is_token_good else "wrong")
        if not is_signed:
            headers = {n: v for n, v in headers.items() if not n.startswith("webhook-")}
        said = self.inbound(**setup).verify(Delivery(headers, body), NOW)
        assert isinstance(said, Verified if is_good else Refused)

    def test_one_signature_of_several_is_enough(self) -> None:
        body = self.event()
        headers = self.headers(body)
        headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']} v2,BBBB"
        assert isinstance(self.inbound().verify(Delivery(headers, body), NOW), Verified)

    def test_a_changed_body_is_refused(self) -> None:
        body = self.event(status={"new_status_id": 5})
        said = self.inbound().verify(Delivery(self.headers(body), body + b" "), NOW)
        assert said == Refused("the signature does not match")

    def test_copies_have_one_id_and_other_events_another(self) -> None:
        def id_of(body: bytes) -> str:
            said = self.inbound().verify(Delivery(self.headers(body), body), NOW)
            assert isinstance(said, Verified)
            return said.source_event_id

        first = self.event(status={"new_status_id": 5})
        assert id_of(first) == id_of(first) == f"3f9e:{self.STATUS}:1001"
        assert id_of(self.event("store/order/updated")) != id_of(first)
        bare = json.dumps({"scope": self.STATUS, "producer": "stores/abc", "data": {"id": 1}}).encode()
        assert id_of(bare).startswith("sha256-")

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"scope": "x"}', b'{"scope": "", "data": {}}'])
    def test_a_signed_body_that_is_no_event_is_refused(self, body: bytes) -> None:
        assert isinstance(self.inbound().verify(Delivery(self.headers(body), body), NOW), Refused)

    @pytest.mark.parametrize(
        ("_case", "scope", "data", "expected"),
        [
            (
                "cancelled",
                STATUS,
                {"status": {"previous_status_id": 11, "new_status_id": 5}},
                OrderCancelledElsewhere(REF),
            ),
            (
                "disputed",
                STATUS,
                {"status": {"new_status_id": 13}},
                DisputeSeen("bigcommerce", "1001", "order 1001", DisputeState.OPEN, order=REF),
            ),
            (
                "refunded",
                "store/order/refund/created",
                {"refund": {"refund_id": 21}},
                PaymentRefundsChanged("bigcommerce", "1001", REF),
            ),
            (
                "the end of a refund",
                "store/order/transaction/created",
                {"order_id": "1001", "transaction_type": "refund", "transaction_status": "error"},
                PaymentRefundsChanged("bigcommerce", "1001", REF),
            ),
        ],
    )
    def test_what_is_said(self, _case: str, scope: str, data: dict[str, Any], expected: Any) -> None:
        assert self.inbound().read_event(scope, self.event(scope, **data)) == expected

    @pytest.mark.parametrize(
        ("scope", "data"),
        [
            (STATUS, {"status": {"new_status_id": 11}}),
            (STATUS, {"status": {"new_status_id": 4}}),
            ("store/order/transaction/created", {"order_id": "1001", "transaction_type": "purchase"}),
            ("store/order/updated", {}),
            ("store/order/archived", {}),
            ("store/cart/created", {}),
        ],
    )
    def test_what_asks_nothing_of_us(self, scope: str, data: dict[str, Any]) -> None:
        assert isinstance(self.inbound().read_event(scope, self.event(scope, **data)), Irrelevant)

    @pytest.mark.parametrize(
        ("_case", "scope", "body", "field"),
        [
            ("no data", STATUS, b"{}", "data"),
            ("no order", STATUS, b'{"data": {"status": {"new_status_id": 5}}}', "data.id"),
            ("an order that is none", STATUS, b'{"data": {"id": true}}', "data.id"),
            (
                "a path for an order",
                STATUS,
                b'{"data": {"id": "1/2", "status": {"new_status_id": 5}}}',
                "data.id",
            ),
            ("no status", STATUS, b'{"data": {"id": 1}}', "data.status.new_status_id"),
            (
                "a status that is none",
                STATUS,
                b'{"data": {"id": 1, "status": {"new_status_id": "5"}}}',
                "data.status.new_status_id",
            ),
            ("a refund of nothing", "store/order/refund/created", b'{"data": {}}', "data.id"),
            (
                "a transaction of nothing",
                "store/order/transaction/created",
                b'{"data": {"transaction_type": "refund"}}',
                "data.order_id",
            ),
        ],
    )
    def test_what_cannot_be_read_names_its_field(
        self, _case: str, scope: str, body: bytes, field: str
    ) -> None:
        with pytest.raises(MalformedError) as caught:
            self.inbound().read_event(scope, body)
        assert caught.value.field == field


def test_what_is_redacted_covers_addresses_cards_and_our_own_headers() -> None:
    assert {
        "billing_address",
        "email",
        "credit_card",
        "gift_certificate",
        "staff_notes",
        "x-auth-token",
        "x-refundflow-token",
    } <= SPEC.redact
