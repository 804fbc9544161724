"""WooCommerce: what is sent, what every answer is taken for, and what its deliveries and lists say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from refundflow.connectors.base import Health, Polled
from refundflow.connectors.woocommerce import (
    CANCEL_SETTLED_S,
    POLL_OVERLAP,
    RECORD_SETTLED_S,
    REFUSALS,
    SPEC,
    Credentials,
    WooCommerce,
    WooCommerceInbound,
    build,
    decode_secret,
    money_of,
    read_cursor,
    rounded,
    step_key_in,
    units_of,
    write_cursor,
)
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderPayment,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
    TakesBack,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Response
from tests.support.fake_http import FakeHttp, FakeWire, answer

CASE = "RF-00K3ZQ4M7ABCDEF"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STEP = StepKey(f"{CASE}.refund.1")
CANCEL_STEP = StepKey(f"{CASE}.cancel_order.1")
RECORD_STEP = StepKey(f"{CASE}.post_ledger.1")
# 2 × 15.00 and 3 for 10.00 without tax, 5.70 and 1.90 tax, shipping 4.90 with 0.93 tax: 53.43 EUR.
TOTAL = Money(5343, "EUR")

REFUND = Refund(
    step_key=STEP,
    key=wire_key(STEP, 1),
    order_id="723",
    order_number="1042",
    payment_reference="723",
    gateway="stripe",
    amount=TOTAL,
)
RECORD = RecordOrderRefund(
    step_key=RECORD_STEP, key=wire_key(RECORD_STEP, 1), order_id="723", order_number="1042", amount=TOTAL
)
CANCEL = CancelOrder(
    step_key=CANCEL_STEP, key=wire_key(CANCEL_STEP, 1), order_id="723", reason="customer", restock=True
)
RESTOCK = Restock(
    step_key=StepKey(f"{CASE}.restock.1"),
    key="k",
    order_id="723",
    currency="EUR",
    lines=(LineQuantity("315", 2),),
    carried_by=CANCEL_STEP,
)
MUGS = (LineQuantity("315", 2),)


def line(
    item_id: int,
    quantity: int,
    net: str,
    tax: str,
    *,
    reduced: int | None = None,
    restocked: int | None = None,
) -> dict[str, Any]:
    meta = {"_reduced_stock": reduced, "_restock_refunded_items": restocked}
    return {
        "id": item_id,
        "name": f"Article {item_id}",
        "sku": f"SKU-{item_id}",
        "quantity": quantity,
        "total": net,
        "total_tax": tax,
        "taxes": [{"id": 1, "total": tax, "subtotal": tax}],
        "meta_data": [{"id": 9, "key": n, "value": str(v)} for n, v in meta.items() if v is not None],
    }


def order(**changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": 723,
        "number": "1042",
        "status": "processing",
        "currency": "EUR",
        "date_created_gmt": "2026-11-20T09:00:00",
        "date_modified_gmt": "2026-11-22T10:15:00",
        "date_paid_gmt": "2026-11-20T09:01:00",
        "date_completed_gmt": None,
        "total": "53.430000",
        "payment_method": "stripe",
        "transaction_id": "ch_1",
        "billing": {"email": "ada@shop.example", "first_name": "Ada", "last_name": "Lovelace"},
        "meta_data": [],
        "line_items": [line(315, 2, "30.000000", "5.700000"), line(316, 3, "10.000000", "1.900000")],
        "shipping_lines": [
            {"id": 317, "total": "4.90", "total_tax": "0.93", "taxes": [{"id": 1, "total": "0.93"}]}
        ],
        "fee_lines": [],
        "refunds": [],
    }
    return told | changes


def ours(step: str, key: str = "") -> list[dict[str, Any]]:
    return [
        {"id": 1, "key": "_refundflow_op", "value": step},
        {"id": 2, "key": "_refundflow_key", "value": key or wire_key(StepKey(step), 1)},
    ]


def refund(
    refund_id: int = 901,
    amount: str = "53.430000",
    step: str = "",
    *,
    is_paid: bool = True,
    lines: Mapping[int, tuple[int, str, str]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """`lines`: by order line: units, net and tax, all positive."""
    told: dict[str, Any] = {
        "id": refund_id,
        "amount": amount,
        "reason": f"refundflow {step}" if step else "given by hand",
        "refunded_payment": is_paid,
        "meta_data": ours(step) if step else [],
        "line_items": [
            {
                "id": 4000 + item_id,
                "quantity": -quantity,
                "total": f"-{net}",
                "total_tax": f"-{tax}",
                "taxes": [{"id": 1, "total": f"-{tax}"}],
                "meta_data": [{"id": 3, "key": "_refunded_item_id", "value": str(item_id)}],
            }
            for item_id, (quantity, net, tax) in (lines or {}).items()
        ],
    }
    return told | changes


def listed(*objects: Any, pages: int = 1) -> Response:
    return answer(200, list(objects), {"X-WP-Total": str(len(objects)), "X-WP-TotalPages": str(pages)})


def error(
    status: int, code: str = "woocommerce_rest_cannot_create_order_refund", message: str = "no"
) -> Response:
    """As the refunds controller says it: `data` is a bare integer."""
    return answer(status, {"code": code, "message": message, "data": status})


def book(*refunds: dict[str, Any], **changes: Any) -> tuple[Response, Response]:
    """The two answers that an order is read from."""
    summary = [{"id": r["id"], "reason": r["reason"], "total": f"-{r['amount']}"} for r in refunds]
    return answer(200, order(refunds=summary, **changes)), listed(*refunds)


def shop(*answers: Any) -> tuple[WooCommerce, FakeHttp]:
    http = FakeHttp(*answers)
    return WooCommerce(http), http


class TestSettings:
    @pytest.mark.parametrize(
        "url",
        [
            "https://shop.example",
            "https://shop.example/store/",
            "http://127.0.0.1:8080/woocommerce",
            "http://localhost:9000/woocommerce",
            "http://[::1]:9000",
        ],
    )
    def test_addresses_with_tls_or_of_this_machine_are_taken(self, url: str) -> None:
        assert Credentials(url, "ck_1", Secret("cs_1")).base_url == url

    @pytest.mark.parametrize(
        "url",
        [
            "http://shop.example",
            "shop.example",
            "",
            "ftp://shop.example",
            "https://a:b@shop.example",
            "https://shop.example?x=1",
            "http://10.0.0.1",
            "http://localhost.shop.example",
            "http://127.evil",
        ],
    )
    def test_others_would_send_the_key_in_the_clear_or_nowhere(self, url: str) -> None:
        with pytest.raises(ValueError, match="base_url"):
            Credentials(url, "ck_1", Secret("cs_1"))

    def test_the_key_goes_as_basic_and_the_address_may_name_the_api(self) -> None:
        wire = FakeWire()
        build(Credentials("https://shop.example/wp-json/", "ck_1", Secret("cs_1")), wire)
        [made] = wire.made
        assert made["auth"] == ("ck_1", "cs_1")
        assert made["base_url"] == "https://shop.example"
        assert "billing" in made["redact"]


class TestCheck:
    def test_a_key_that_works_and_no_webhook_off(self) -> None:
        connector, http = shop(
            listed(order()), listed({"id": 1, "topic": "order.updated", "status": "active"})
        )
        assert connector.check() == Health(True, "the key is accepted; API wc/v3")
        assert http.calls == ["GET /wp-json/wc/v3/orders", "GET /wp-json/wc/v3/webhooks"]

    def test_a_webhook_that_the_shop_switched_off_is_told(self) -> None:
        off = {"id": 12, "topic": "order.updated", "status": "disabled"}
        other = {"id": 13, "topic": "product.updated", "status": "disabled"}
        connector, _ = shop(listed(), listed(off, other))
        health = connector.check()
        assert health.is_ok
        assert "12 (order.updated)" in health.detail
        assert "13" not in health.detail

    def test_a_list_without_page_counts_is_not_the_shop(self) -> None:
        connector, _ = shop(answer(200, []))
        assert not connector.check().is_ok

    def test_webhooks_that_may_not_be_read_do_not_make_the_shop_ill(self) -> None:
        connector, _ = shop(listed(), answer(403, ""))
        health = connector.check()
        assert health.is_ok
        assert "cannot be read" in health.detail


class TestReadOrder:
    def test_an_order_by_id(self) -> None:
        connector, http = shop(*book())
        facts = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(facts, OrderFacts)
        assert (facts.order_id, facts.number, facts.total, facts.currency) == ("723", "1042", TOTAL, "EUR")
        assert (facts.email, facts.customer_name) == ("ada@shop.example", "Ada Lovelace")
        assert facts.created_at == datetime(2026, 11, 20, 9, tzinfo=UTC)
        assert [(x.line_id, x.sku, x.quantity, x.unfulfilled, x.refundable, x.unit) for x in facts.lines] == [
            ("315", "SKU-315", 2, 2, 2, Money(1785, "EUR")),
            ("316", "SKU-316", 3, 3, 3, Money(397, "EUR")),
        ]
        assert facts.payments == (OrderPayment("723", "stripe", "ch_1", True, TOTAL),)
        assert (facts.cancels, facts.cancels_lines) == (TakesBack.CALL, TakesBack.REFUND)
        assert facts.records_refunds
        assert facts.is_restock_carried
        assert facts.releases_authorisations
        assert facts.cancelled_at is None
        assert facts.cancel_refusal == ""
        assert http.calls == ["GET /wp-json/wc/v3/orders/723", "GET /wp-json/wc/v3/orders/723/refunds"]
        assert ("dp", "6") in http.requests[0].params
        assert ("per_page", "100") in http.requests[1].params

    def test_units_that_a_refund_took_are_gone(self) -> None:
        connector, _ = shop(*book(refund(901, "17.85", lines={315: (1, "15.00", "2.85")})))
        facts = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(facts, OrderFacts)
        assert [(x.quantity, x.unfulfilled, x.refundable) for x in facts.lines] == [(1, 1, 1), (3, 3, 3)]

    @pytest.mark.parametrize(
        ("_case", "changes", "unfulfilled", "is_cancelled"),
        [
            ("processing", {}, 2, False),
            ("completed means shipped", {"status": "completed"}, 0, False),
            ("cancelled", {"status": "cancelled"}, 2, True),
            (
                "cancelled after it was completed",
                {"status": "cancelled", "date_completed_gmt": "2026-11-21T09:00:00"},
                0,
                True,
            ),
            ("refunded by somebody", {"status": "refunded"}, 2, False),
            (
                "cancelled by us and refunded since",
                {"status": "refunded", "meta_data": ours("s.x.1")},
                2,
                True,
            ),
            (
                "opened again after it was completed",
                {"date_completed_gmt": "2026-11-21T09:00:00"},
                2,
                False,
            ),
        ],
    )
    def test_the_status_tells_what_left_and_what_is_over(
        self, _case: str, changes: dict[str, Any], unfulfilled: int, is_cancelled: bool
    ) -> None:
        connector, _ = shop(*book(**changes))
        facts = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(facts, OrderFacts)
        assert facts.lines[0].unfulfilled == unfulfilled
        assert (facts.cancelled_at is not None) is is_cancelled

    @pytest.mark.parametrize(
        ("status", "word"), [("trash", "trash"), ("checkout-draft", "draft"), ("shipped", "shipped")]
    )
    def test_statuses_that_a_person_must_look_at_first(self, status: str, word: str) -> None:
        connector, _ = shop(*book(status=status))
        facts = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(facts, OrderFacts)
        assert word in facts.cancel_refusal

    @pytest.mark.parametrize(
        ("_case", "changes", "payments"),
        [
            (
                "only authorised",
                {"date_paid_gmt": None},
                (OrderPayment("723", "stripe", "ch_1", False, TOTAL),),
            ),
            ("not paid at all", {"date_paid_gmt": None, "transaction_id": ""}, ()),
            (
                "paid by a method without references",
                {"payment_method": "cod", "transaction_id": ""},
                (OrderPayment("723", "cod", "", True, TOTAL),),
            ),
            ("free of charge", {"total": "0.00"}, ()),
        ],
    )
    def test_the_payment(
        self, _case: str, changes: dict[str, Any], payments: tuple[OrderPayment, ...]
    ) -> None:
        connector, _ = shop(*book(**changes))
        facts = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(facts, OrderFacts)
        assert facts.payments == payments

    def test_currencies_without_decimals_and_with_three(self) -> None:
        for currency, total, minor in [("JPY", "1000.000000", 1000), ("KWD", "1.234000", 1234)]:
            changes = {"currency": currency, "total": total, "line_items": [], "shipping_lines": []}
            connector, _ = shop(*book(**changes))
            facts = connector.read_order(OrderRef("woocommerce", "723"))
            assert isinstance(facts, OrderFacts)
            assert facts.total == Money(minor, currency)

    def test_a_total_that_nobody_can_pay_goes_to_a_person(self) -> None:
        connector, _ = shop(answer(200, order(total="53.431")))
        said = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(said, Permanent)
        assert said.code == "amount_unsupported"

    def test_all_pages_of_refunds_are_read(self) -> None:
        summary = [{"id": 1, "reason": "", "total": "-1.00"}, {"id": 2, "reason": "", "total": "-1.00"}]
        connector, http = shop(
            answer(200, order(refunds=summary)),
            listed(refund(2, "1.00", lines={315: (1, "0.81", "0.19")}), pages=2),
            listed(refund(1, "1.00", lines={316: (2, "0.81", "0.19")}), pages=2),
        )
        facts = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(facts, OrderFacts)
        assert [x.quantity for x in facts.lines] == [1, 1]
        assert ("page", "2") in http.requests[2].params

    def test_refunds_without_an_end_are_unknown(self) -> None:
        connector, _ = shop(answer(200, order()), *(listed(pages=99) for _ in range(10)))
        assert isinstance(connector.read_order(OrderRef("woocommerce", "723")), Unknown)

    def test_a_list_that_lacks_a_refund_which_the_order_names_is_not_believed(self) -> None:
        connector, _ = shop(answer(200, order(refunds=[{"id": 901, "total": "-1.00"}])), listed())
        said = connector.read_order(OrderRef("woocommerce", "723"))
        assert isinstance(said, Unknown)
        assert "901" in said.reason

    @pytest.mark.parametrize(
        ("_case", "told", "expected"),
        [
            (
                "no such order",
                error(404, "woocommerce_rest_shop_order_invalid_id", "Invalid ID."),
                NotFound,
            ),
            ("plain permalinks", answer(404, "<html>Page not found</html>"), Permanent),
            ("no route", error(404, "rest_no_route", "No route"), Permanent),
            ("another order", answer(200, order(id=724)), Unknown),
            ("a maintenance page", answer(200, "<html>Back soon</html>"), Unknown),
            ("the host is busy", answer(503, "<html>503</html>", {"Retry-After": "9"}), Retryable),
            ("a redirect", answer(301, "", {"Location": "https://www.shop.example"}), Unknown),
            ("half an order", answer(200, {"id": 723, "status": "processing"}), Unknown),
            ("a line without a total", answer(200, order(line_items=[{"id": 1, "quantity": 1}])), Unknown),
            (
                "a part of a unit",
                answer(200, order(line_items=[line(1, 1, "1", "0") | {"quantity": 0.5}])),
                Unknown,
            ),
            ("no key", answer(401, ""), Retryable),
        ],
    )
    def test_other_answers(self, _case: str, told: Response, expected: type) -> None:
        connector, _ = shop(told)
        assert isinstance(connector.read_order(OrderRef("woocommerce", "723")), expected)

    @pytest.mark.parametrize("order_id", ["../orders", "7?x=1", "0", "-1", "7 23", "٧", "7" * 30])
    def test_an_id_that_could_lead_elsewhere_is_not_sent(self, order_id: str) -> None:
        connector, http = shop()
        assert isinstance(connector.read_order(OrderRef("woocommerce", order_id)), Permanent)
        assert http.requests == []


class TestFindByNumber:
    REF = OrderRef("woocommerce", number="#WC-1042")

    def test_the_number_must_be_exactly_that(self) -> None:
        near = [{"id": 1, "number": "WC-10421"}, {"id": 2, "number": "XWC-1042"}]
        connector, http = shop(listed(*near, {"id": 723, "number": "WC-1042"}), *book(number="WC-1042"))
        facts = connector.read_order(self.REF)
        assert isinstance(facts, OrderFacts)
        assert facts.order_id == "723"
        assert ("search", "WC-1042") in http.requests[0].params

    def test_two_orders_of_one_number_go_to_a_person(self) -> None:
        connector, _ = shop(listed({"id": 7, "number": "WC-1042"}, {"id": 8, "number": "#WC-1042"}))
        said = connector.read_order(self.REF)
        assert isinstance(said, Permanent)
        assert said.code == "ambiguous"

    def test_none_is_not_found(self) -> None:
        connector, _ = shop(listed({"id": 7, "number": "1042"}))
        assert isinstance(connector.read_order(self.REF), NotFound)

    def test_where_the_search_does_not_know_it_the_order_of_that_id_is_asked(self) -> None:
        connector, http = shop(listed(), answer(200, order(number="723")), *book(number="723"))
        facts = connector.read_order(OrderRef("woocommerce", number="723"))
        assert isinstance(facts, OrderFacts)
        assert http.calls[1] == "GET /wp-json/wc/v3/orders/723"

    def test_an_order_of_that_id_with_another_number_is_not_it(self) -> None:
        connector, _ = shop(listed(), answer(200, order(number="1042")))
        assert isinstance(connector.read_order(OrderRef("woocommerce", number="723")), NotFound)

    def test_all_pages_are_searched(self) -> None:
        connector, _ = shop(listed(pages=2), listed({"id": 723, "number": "WC-1042"}, pages=2), *book())
        assert isinstance(connector.read_order(self.REF), OrderFacts)

    def test_too_many_hits_go_to_a_person(self) -> None:
        connector, _ = shop(*(listed(pages=50) for _ in range(10)))
        said = connector.read_order(self.REF)
        assert isinstance(said, Permanent)
        assert said.code == "ambiguous"

    def test_nothing_given_is_refused(self) -> None:
        connector, _ = shop()
        assert isinstance(connector.read_order(OrderRef("woocommerce")), Permanent)


class TestQuote:
    ORDER = OrderFacts("woocommerce", "723", "1042", NOW, "EUR", TOTAL, "", lines=(), payments=())

    @pytest.mark.parametrize(
        ("_case", "lines", "refunds", "minor"),
        [
            ("a whole line", {"315": 2}, [], 3570),
            ("one unit of three", {"316": 1}, [], 333 + 63),
            ("two units of three", {"316": 2}, [], 666 + 126),
            ("the last unit takes the rest", {"316": 1}, [{316: (2, "6.66", "1.26")}], 334 + 64),
            ("two lines", {"315": 1, "316": 3}, [], 1785 + 1190),
            (
                "what was given back by hand is not quoted again",
                {"316": 2},
                [{316: (1, "9.00", "1.71")}],
                119,
            ),
        ],
    )
    def test_units_are_worth_their_share(
        self, _case: str, lines: dict[str, int], refunds: list[Any], minor: int
    ) -> None:
        made = [refund(900 + n, "1.00", lines=taken) for n, taken in enumerate(refunds)]
        connector, _ = shop(*book(*made))
        asked = tuple(LineQuantity(name, quantity) for name, quantity in lines.items())
        assert connector.quote_lines(self.ORDER, asked) == Money(minor, "EUR")

    def test_all_units_one_by_one_are_worth_the_line(self) -> None:
        taken: list[dict[str, Any]] = []
        total = 0
        for n, (net, tax) in enumerate([("3.33", "0.63"), ("3.33", "0.63"), ("3.34", "0.64")]):
            connector, _ = shop(*book(*taken))
            part = connector.quote_lines(self.ORDER, (LineQuantity("316", 1),))
            assert isinstance(part, Money)
            total += part.minor
            taken.append(refund(900 + n, part.major, lines={316: (1, net, tax)}))
        assert total == 1190

    @pytest.mark.parametrize(
        ("lines", "code"),
        [
            ({"315": 3}, "lines_gone"),
            ({"999": 1}, "unknown_line"),
            ({"317": 1}, "unknown_line"),
            ({"315": 0}, "lines_gone"),
        ],
    )
    def test_units_that_are_not_there_are_refused(self, lines: dict[str, int], code: str) -> None:
        connector, _ = shop(*book())
        said = connector.quote_lines(self.ORDER, tuple(LineQuantity(n, q) for n, q in lines.items()))
        assert isinstance(said, Permanent)
        assert said.code == code

    def test_sub_cent_totals_are_rounded_once(self) -> None:
        connector, _ = shop(*book(line_items=[line(315, 1, "35.214600", "6.690774")]))
        assert connector.quote_lines(self.ORDER, (LineQuantity("315", 1),)) == Money(3521 + 669, "EUR")

    def test_taxes_that_are_not_listed_count(self) -> None:
        connector, _ = shop(*book(line_items=[line(315, 2, "30.00", "5.70") | {"taxes": []}]))
        assert connector.quote_lines(self.ORDER, (LineQuantity("315", 1),)) == Money(1785, "EUR")


class TestCancel:
    def test_it_looks_then_sends_status_and_reference(self) -> None:
        connector, http = shop(answer(200, order()), answer(200, order(status="cancelled")))
        assert connector.cancel_order(CANCEL) == Done("723")
        assert http.calls == ["GET /wp-json/wc/v3/orders/723", "PUT /wp-json/wc/v3/orders/723"]
        assert http.requests[1].json == {
            "status": "cancelled",
            "meta_data": [
                {"key": "_refundflow_op", "value": CANCEL_STEP},
                {"key": "_refundflow_key", "value": CANCEL.key},
            ],
        }

    @pytest.mark.parametrize(
        ("_case", "seen", "expected"),
        [
            ("by somebody else", order(status="cancelled"), AlreadyDone),
            ("by us", order(status="cancelled", meta_data=ours(CANCEL_STEP)), AlreadyDone),
            ("by us, refunded since", order(status="refunded", meta_data=ours(CANCEL_STEP)), AlreadyDone),
            ("shipped", order(status="completed"), Permanent),
            ("in the trash", order(status="trash"), Permanent),
            ("a draft", order(status="checkout-draft"), Permanent),
            ("ours, and opened again by a person", order(meta_data=ours(CANCEL_STEP)), Permanent),
        ],
    )
    def test_what_is_seen_first_may_be_enough(self, _case: str, seen: dict[str, Any], expected: type) -> None:
        connector, http = shop(answer(200, seen))
        assert isinstance(connector.cancel_order(CANCEL), expected)
        assert [r.method for r in http.requests] == ["GET"]

    def test_after_a_persons_word_an_order_that_was_opened_again_is_cancelled_again(self) -> None:
        again = replace(CANCEL, key=wire_key(CANCEL_STEP, 2))
        connector, http = shop(
            answer(200, order(meta_data=ours(CANCEL_STEP))), answer(200, order(status="cancelled"))
        )
        assert connector.cancel_order(again) == Done("723")
        assert http.requests[1].method == "PUT"

    def test_stock_that_somebody_else_owns_is_not_put_back_by_the_shop(self) -> None:
        held = order(line_items=[line(315, 2, "30.00", "5.70", reduced=2)])
        connector, http = shop(answer(200, held))
        said = connector.cancel_order(replace(CANCEL, restock=False))
        assert isinstance(said, Permanent)
        assert said.code == "restocks_itself"
        assert "stock_owner" in said.reason
        assert [r.method for r in http.requests] == ["GET"]

    @pytest.mark.parametrize("reduced", [None, 0])
    def test_where_the_shop_holds_no_stock_it_may_cancel_for_another_owner(self, reduced: int | None) -> None:
        free = order(line_items=[line(315, 2, "30.00", "5.70", reduced=reduced)])
        connector, _ = shop(answer(200, free), answer(200, order(status="cancelled")))
        assert connector.cancel_order(replace(CANCEL, restock=False)) == Done("723")

    @pytest.mark.parametrize(
        ("_case", "told", "expected"),
        [
            ("read but not heeded", answer(200, order()), Unknown("")),
            ("another order", answer(200, order(id=7, status="cancelled")), Unknown("")),
            (
                "no such order",
                error(400, "woocommerce_rest_shop_order_invalid_id"),
                Permanent("woocommerce_rest_shop_order_invalid_id", "no"),
            ),
            ("a wrong parameter", error(400, "rest_invalid_param"), Permanent("rest_invalid_param", "no")),
            ("a fatal error", answer(500, ""), Unknown("")),
            ("the host gave up", answer(504, "<html>"), Unknown("")),
            ("too often", answer(429, "", {"Retry-After": "7"}), Retryable("throttled", "", 7.0)),
            (
                "a key without rights",
                error(401, "woocommerce_rest_cannot_edit"),
                Retryable("unauthorised", ""),
            ),
            ("not a word", answer(200, ""), Unknown("")),
        ],
    )
    def test_answers_to_the_write(self, _case: str, told: Response, expected: Outcome) -> None:
        connector, _ = shop(answer(200, order()), told)
        said = connector.cancel_order(CANCEL)
        assert type(said) is type(expected)
        assert getattr(said, "code", "") == getattr(expected, "code", "")

    @pytest.mark.parametrize(
        ("_case", "seen", "expected"),
        [
            (
                "ours",
                order(status="cancelled", meta_data=ours(CANCEL_STEP)),
                Done("723", "cancelled, with our reference"),
            ),
            ("somebody else's", order(status="cancelled"), AlreadyDone("723", "cancelled by somebody else")),
            (
                "ours, refunded since",
                order(status="refunded", meta_data=ours(CANCEL_STEP)),
                Done("723", "cancelled with our reference, and refunded since"),
            ),
            (
                "refunded by somebody",
                order(status="refunded"),
                NotFound(CANCEL_SETTLED_S, "the order is 'refunded'"),
            ),
            ("not cancelled", order(), NotFound(CANCEL_SETTLED_S, "the order is 'processing'")),
        ],
    )
    def test_a_look(self, _case: str, seen: dict[str, Any], expected: Found) -> None:
        connector, _ = shop(answer(200, seen))
        assert connector.find_cancel_order(CANCEL) == expected

    def test_a_look_finds_that_a_person_opened_it_again(self) -> None:
        connector, _ = shop(answer(200, order(meta_data=ours(CANCEL_STEP))))
        said = connector.find_cancel_order(CANCEL)
        assert isinstance(said, Permanent)
        assert said.code == "reopened"

    @pytest.mark.parametrize(
        "told",
        [answer(404, "<html>"), error(404, "woocommerce_rest_shop_order_invalid_id"), answer(200, "[]")],
    )
    def test_a_look_that_saw_no_order_proves_nothing(self, told: Response) -> None:
        connector, _ = shop(told)
        assert isinstance(connector.find_cancel_order(CANCEL), Unknown)


class TestBeforeAWrite:
    WRITES: tuple[tuple[str, Callable[[WooCommerce], Outcome]], ...] = (
        ("cancel", lambda c: c.cancel_order(CANCEL)),
        ("refund", lambda c: c.refund(REFUND)),
        ("record", lambda c: c.record_order_refund(RECORD)),
        ("restock", lambda c: c.restock(RESTOCK)),
    )

    @pytest.mark.parametrize("write", [w for _, w in WRITES], ids=[n for n, _ in WRITES])
    @pytest.mark.parametrize(
        ("_case", "told", "code"),
        [
            ("no answer to the look", MaybeSentError("read timeout"), "not_sent"),
            ("an unreadable order", answer(200, "<html>"), "unavailable"),
            ("the host is busy", answer(503, ""), "unavailable"),
            ("too often", answer(429, ""), "throttled"),
        ],
    )
    def test_trouble_with_the_look_means_that_nothing_was_sent(
        self, write: Callable[[WooCommerce], Outcome], _case: str, told: Any, code: str
    ) -> None:
        connector, http = shop(told)
        said = write(connector)
        assert isinstance(said, Retryable)
        assert said.code == code
        assert [r.method for r in http.requests] == ["GET"]

    @pytest.mark.parametrize("write", [w for _, w in WRITES], ids=[n for n, _ in WRITES])
    def test_no_such_order_is_a_no(self, write: Callable[[WooCommerce], Outcome]) -> None:
        connector, _ = shop(error(404, "woocommerce_rest_shop_order_invalid_id"))
        said = write(connector)
        assert isinstance(said, Permanent)
        assert said.code == "not_found"

    def test_trouble_with_the_write_itself_passes_through(self) -> None:
        for trouble in (MaybeSentError("reset"), NotSentError("refused")):
            connector, _ = shop(*book(), trouble)
            with pytest.raises(type(trouble)):
                connector.refund(REFUND)


class TestRefund:
    def test_everything_that_would_be_assumed_is_said(self) -> None:
        connector, http = shop(*book(), answer(201, refund(step=STEP)))
        assert connector.refund(REFUND) == Done("901")
        sent = http.requests[2]
        assert (sent.method, sent.path) == ("POST", "/wp-json/wc/v3/orders/723/refunds")
        assert sent.json == {
            "amount": "53.43",
            "reason": f"refundflow {STEP}",
            "api_refund": True,
            "api_restock": False,
            "meta_data": [
                {"key": "_refundflow_op", "value": STEP},
                {"key": "_refundflow_key", "value": REFUND.key},
            ],
        }

    def test_a_whole_order_is_given_back_line_by_line_with_shipping(self) -> None:
        command = replace(REFUND, lines=(*MUGS, LineQuantity("316", 3)), is_whole=True)
        connector, http = shop(*book(), answer(201, refund(step=STEP)))
        connector.refund(command)
        body = http.requests[2].json
        assert body["line_items"] == [
            {
                "id": 315,
                "quantity": 2,
                "refund_total": Decimal("30.00"),
                "refund_tax": [{"id": 1, "refund_total": Decimal("5.70")}],
            },
            {
                "id": 316,
                "quantity": 3,
                "refund_total": Decimal("10.00"),
                "refund_tax": [{"id": 1, "refund_total": Decimal("1.90")}],
            },
            {
                "id": 317,
                "refund_total": Decimal("4.90"),
                "refund_tax": [{"id": 1, "refund_total": Decimal("0.93")}],
            },
        ]
        assert body["api_restock"] is False

    @pytest.mark.parametrize(
        ("_case", "amount", "takes_out", "lines"),
        [
            (
                "they add up",
                3570,
                False,
                [(315, 2, "30.00", ["5.70"])],
            ),
            ("they do not, and take nothing out", 3000, False, None),
            ("they do not, and the refund takes them out", 3000, True, [(315, 2, "0.00", [])]),
        ],
    )
    def test_lines_are_named_where_they_add_up_or_are_needed(
        self, _case: str, amount: int, takes_out: bool, lines: Any
    ) -> None:
        command = replace(
            REFUND, amount=Money(amount, "EUR"), lines=MUGS, takes_out=takes_out, restock=takes_out
        )
        made = refund(901, command.amount.major, STEP, lines={315: (2, "0", "0")})
        connector, http = shop(*book(), answer(201, made))
        assert connector.refund(command) == Done("901")
        body = http.requests[2].json
        assert body["api_restock"] is takes_out
        told = [
            (
                x["id"],
                x["quantity"],
                str(x["refund_total"]),
                [str(t["refund_total"]) for t in x["refund_tax"]],
            )
            for x in body.get("line_items", [])
        ]
        assert (told or None) == lines

    def test_units_go_back_on_the_shelf_only_where_the_refund_takes_them_out(self) -> None:
        for takes_out, restock in [(True, False), (False, True)]:
            command = replace(
                REFUND, amount=Money(3570, "EUR"), lines=MUGS, takes_out=takes_out, restock=restock
            )
            made = refund(901, "35.70", STEP, lines={315: (2, "30", "5.70")})
            connector, http = shop(*book(), answer(201, made))
            connector.refund(command)
            assert http.requests[2].json["api_restock"] is False

    def test_the_last_units_take_what_is_left_of_line_and_tax(self) -> None:
        before = refund(900, "7.92", lines={316: (2, "6.66", "1.26")})
        command = replace(REFUND, amount=Money(398, "EUR"), lines=(LineQuantity("316", 1),))
        connector, http = shop(*book(before), answer(201, refund(901, "3.98", STEP)))
        connector.refund(command)
        [told] = http.requests[2].json["line_items"]
        assert (told["refund_total"], told["refund_tax"][0]["refund_total"]) == (
            Decimal("3.34"),
            Decimal("0.64"),
        )

    @pytest.mark.parametrize(
        ("_case", "records", "expected"),
        [
            ("paid", [refund(step=STEP)], Done),
            ("paid, its meta lost", [refund(step=STEP, meta_data=[])], Done),
            ("paid, its reason changed", [refund(step=STEP, reason="by Ada")], Done),
            ("not confirmed by the gateway", [refund(step=STEP, is_paid=False)], Unknown),
            ("another amount", [refund(901, "50.00", STEP)], Permanent),
            ("twice", [refund(901, "20.00", STEP), refund(902, "33.43", STEP)], Permanent),
        ],
    )
    def test_what_is_there_already_speaks_before_and_after(
        self, _case: str, records: list[dict[str, Any]], expected: type
    ) -> None:
        connector, http = shop(*book(*records), *book(*records))
        assert isinstance(connector.refund(REFUND), expected)
        assert isinstance(connector.find_refund(REFUND), expected)
        assert {r.method for r in http.requests} == {"GET"}

    def test_money_that_differs_stays_reserved(self) -> None:
        connector, _ = shop(*book(refund(901, "50.00", STEP)))
        said = connector.find_refund(REFUND)
        assert isinstance(said, Permanent)
        assert said.code == "amount_mismatch"

    @pytest.mark.parametrize(
        ("_case", "command", "changes", "records", "code"),
        [
            ("others took it", REFUND, {}, [refund(900, "10.00")], "refunded_elsewhere"),
            ("nothing was captured", REFUND, {"date_paid_gmt": None}, [], "not_captured"),
            ("a cheque", REFUND, {"payment_method": "cheque"}, [], "no_automatic_refunds"),
            ("another currency", replace(REFUND, amount=Money(5343, "USD")), {}, [], "currency_mismatch"),
            ("nothing", replace(REFUND, amount=Money(0, "EUR")), {}, [], "amount_unsupported"),
            (
                "units that are gone",
                replace(REFUND, lines=(LineQuantity("315", 3),), takes_out=True),
                {},
                [],
                "lines_gone",
            ),
            (
                "units of another order",
                replace(REFUND, lines=(LineQuantity("999", 1),), takes_out=True),
                {},
                [],
                "unknown_line",
            ),
        ],
    )
    def test_what_is_known_beforehand_is_not_sent(
        self, _case: str, command: Refund, changes: dict[str, Any], records: list[Any], code: str
    ) -> None:
        connector, http = shop(*book(*records, **changes))
        said = connector.refund(command)
        assert isinstance(said, Permanent)
        assert said.code == code
        assert {r.method for r in http.requests} == {"GET"}

    def test_a_reference_that_is_not_the_order_is_refused(self) -> None:
        connector, http = shop()
        for command in (
            replace(REFUND, payment_reference="ch_1"),
            replace(REFUND, order_id="", payment_reference="../7"),
        ):
            for said in (connector.refund(command), connector.find_refund(command)):
                assert isinstance(said, Permanent | Unknown)
        assert http.requests == []

    @pytest.mark.parametrize(
        ("_case", "told", "expected"),
        [
            (
                "the gateway declined, or ran out of time",
                error(500, message="cURL error 28: Operation timed out"),
                Unknown,
            ),
            ("the same in another language", error(500, message="Ungültiger Erstattungsbetrag."), Unknown),
            ("with the number as status", error(400, message="declined"), Unknown),
            (
                "a fatal error",
                answer(
                    500, {"code": "internal_server_error", "message": "critical", "data": {"status": 500}}
                ),
                Unknown,
            ),
            ("the host gave up", answer(504, "<html>"), Unknown),
            ("a maintenance page", answer(200, "<html>"), Unknown),
            (
                "a record that the gateway did not confirm",
                answer(201, refund(step=STEP, is_paid=False)),
                Unknown,
            ),
            ("no word about the gateway", answer(201, {"id": 901, "amount": "53.43"}), Unknown),
            ("an amount that cannot be read", answer(201, {"id": 901, "amount": "a lot"}), Unknown),
            ("another amount", answer(201, refund(901, "50.00", STEP)), Permanent),
            ("too often", answer(429, ""), Retryable),
            ("a key without rights", error(401, "woocommerce_rest_cannot_create"), Retryable),
            ("a firewall", answer(403, "<html>"), Retryable),
        ],
    )
    def test_answers_to_the_write(self, _case: str, told: Response, expected: type) -> None:
        connector, http = shop(*book(), told)
        assert isinstance(connector.refund(REFUND), expected)
        assert http.is_drained

    @pytest.mark.parametrize(
        ("told", "code"),
        [
            *((error(500, message=text), code) for text, code in REFUSALS.items()),
            (error(400, "rest_invalid_param"), "rest_invalid_param"),
            (error(404, "rest_no_route"), "rest_no_route"),
            (error(404, "woocommerce_rest_invalid_order_id"), "woocommerce_rest_invalid_order_id"),
        ],
    )
    def test_a_no_from_before_the_gateway_was_asked_stands_where_nothing_is_there(
        self, told: Response, code: str
    ) -> None:
        connector, http = shop(*book(), told, *book())
        said = connector.refund(REFUND)
        assert isinstance(said, Permanent)
        assert said.code == code
        assert [r.method for r in http.requests] == ["GET", "GET", "POST", "GET", "GET"]

    def test_already_refunded_by_our_own_lost_call_is_done(self) -> None:
        told = error(500, message="Invalid refund amount.")
        connector, _ = shop(*book(), told, *book(refund(step=STEP)))
        assert connector.refund(REFUND) == Done("901")

    @pytest.mark.parametrize(
        "look", [answer(500, ""), MaybeSentError("reset"), NotSentError("refused"), answer(404, "")]
    )
    def test_a_no_that_cannot_be_looked_after_is_unknown(self, look: Any) -> None:
        connector, _ = shop(*book(), error(500, message="Invalid refund amount."), look)
        assert isinstance(connector.refund(REFUND), Unknown)

    def test_units_that_the_shop_dropped_are_told_and_the_money_is_done(self) -> None:
        command = replace(REFUND, amount=Money(3570, "EUR"), lines=MUGS, takes_out=True, restock=True)
        connector, _ = shop(*book(), answer(201, refund(901, "35.70", STEP)))
        said = connector.refund(command)
        assert isinstance(said, Done)
        assert "315" in said.detail

    def test_no_record_proves_nothing_about_the_money(self) -> None:
        for records in ([], [refund(900, "10.00")]):
            connector, _ = shop(*book(*records))
            said = connector.find_refund(REFUND)
            assert isinstance(said, NotFound)
            assert said.conclusive_after_s is None
            assert "ch_1" in said.reason

    def test_a_key_of_another_step_does_not_speak(self) -> None:
        connector, _ = shop(*book(refund(step=f"{STEP}0")))
        assert isinstance(connector.find_refund(REFUND), NotFound)

    @pytest.mark.parametrize(
        "told", [answer(200, "[]"), answer(500, ""), error(404, "woocommerce_rest_shop_order_invalid_id")]
    )
    def test_a_look_without_the_order_is_no_look(self, told: Response) -> None:
        connector, _ = shop(told)
        assert isinstance(connector.find_refund(REFUND), Unknown | Retryable)

    def test_an_empty_list_from_somebody_else_is_no_look(self) -> None:
        connector, _ = shop(answer(200, order()), answer(200, []))
        assert isinstance(connector.find_refund(REFUND), Unknown)


class TestRecord:
    def test_it_says_that_no_money_is_to_move(self) -> None:
        command = replace(RECORD, refund_references="re_3Abc, re_3Abd")
        connector, http = shop(*book(), answer(201, refund(step=RECORD_STEP, is_paid=False)))
        assert connector.record_order_refund(command) == Done("901")
        body = http.requests[2].json
        assert body["api_refund"] is False
        assert body["api_restock"] is False
        assert body["amount"] == "53.43"
        assert body["reason"] == f"refundflow {RECORD_STEP}"
        assert {m["key"]: m["value"] for m in body["meta_data"]} == {
            "_refundflow_op": RECORD_STEP,
            "_refundflow_key": RECORD.key,
            "_refundflow_refunds": "re_3Abc, re_3Abd",
        }

    def test_it_takes_units_out_and_puts_them_back_where_told(self) -> None:
        command = replace(RECORD, amount=Money(3570, "EUR"), lines=MUGS, takes_out=True, restock=True)
        made = refund(901, "35.70", RECORD_STEP, is_paid=False, lines={315: (2, "30", "5.70")})
        connector, http = shop(*book(), answer(201, made))
        assert connector.record_order_refund(command) == Done("901")
        assert http.requests[2].json["api_restock"] is True
        assert [x["quantity"] for x in http.requests[2].json["line_items"]] == [2]

    @pytest.mark.parametrize(
        ("_case", "records", "expected"),
        [
            ("ours", [refund(step=RECORD_STEP, is_paid=False)], Done("901")),
            ("ours, meta lost", [refund(step=RECORD_STEP, is_paid=False, meta_data=[])], Done("901")),
            ("ours, and the gateway paid it", [refund(step=RECORD_STEP)], Permanent("moved_money", "")),
            ("another amount", [refund(901, "5.00", RECORD_STEP)], Permanent("amount_mismatch", "")),
        ],
    )
    def test_what_is_there_already_speaks_before_and_after(
        self, _case: str, records: list[dict[str, Any]], expected: Outcome
    ) -> None:
        connector, http = shop(*book(*records), *book(*records))
        for said in (connector.record_order_refund(RECORD), connector.find_record_order_refund(RECORD)):
            assert type(said) is type(expected)
            if isinstance(said, Permanent) and isinstance(expected, Permanent):
                assert said.code == expected.code
        assert {r.method for r in http.requests} == {"GET"}

    def test_what_the_payers_plugin_wrote_down_is_not_written_again(self) -> None:
        theirs = refund(905, is_paid=False, reason="Refunded at Stripe: re_3Abc.")
        command = replace(RECORD, refund_references="re_3Abc")
        connector, http = shop(*book(theirs), *book(theirs))
        assert connector.record_order_refund(command) == AlreadyDone(
            "905", "written down by the payer's own plugin"
        )
        assert isinstance(connector.find_record_order_refund(command), AlreadyDone)
        assert {r.method for r in http.requests} == {"GET"}

    @pytest.mark.parametrize(
        ("_case", "theirs", "references"),
        [
            ("another reference", refund(905, "20.00", reason="re_3Abd"), "re_3Abc"),
            ("only one of two", refund(905, "20.00", reason="re_3Abc"), "re_3Abc, re_3Abd"),
            ("another amount", refund(905, "10.00", reason="re_3Abc"), "re_3Abc"),
            ("part of a word", refund(905, "20.00", reason="re_3Abcdef"), "re_3Abc"),
            ("no reference", refund(905, "20.00"), ""),
        ],
    )
    def test_what_is_not_surely_the_same_is_written(
        self, _case: str, theirs: dict[str, Any], references: str
    ) -> None:
        command = replace(RECORD, amount=Money(2000, "EUR"), refund_references=references)
        made = refund(906, "20.00", RECORD_STEP, is_paid=False)
        connector, _ = shop(*book(theirs), answer(201, made))
        assert connector.record_order_refund(command) == Done("906")

    @pytest.mark.parametrize(
        ("_case", "changes", "records", "code"),
        [
            ("others wrote it down", {}, [refund(900, "10.00")], "recorded_elsewhere"),
            ("a full record lets go of an authorisation", {"date_paid_gmt": None}, [], "would_release"),
        ],
    )
    def test_what_is_known_beforehand_is_not_sent(
        self, _case: str, changes: dict[str, Any], records: list[Any], code: str
    ) -> None:
        connector, http = shop(*book(*records, **changes))
        said = connector.record_order_refund(RECORD)
        assert isinstance(said, Permanent)
        assert said.code == code
        assert {r.method for r in http.requests} == {"GET"}

    def test_units_that_the_shop_dropped_go_to_a_person(self) -> None:
        command = replace(RECORD, amount=Money(3570, "EUR"), lines=MUGS, takes_out=True)
        connector, _ = shop(*book(), answer(201, refund(901, "35.70", RECORD_STEP, is_paid=False)))
        said = connector.record_order_refund(command)
        assert isinstance(said, Permanent)
        assert said.code == "lines_mismatch"

    @pytest.mark.parametrize(
        ("_case", "told", "expected"),
        [
            ("a fatal error", answer(500, ""), Unknown),
            ("refused without a known text", error(500, message="Nein."), Unknown),
            ("too often", answer(429, ""), Retryable),
            ("money moved all the same", answer(201, refund(step=RECORD_STEP)), Permanent),
        ],
    )
    def test_answers_to_the_write(self, _case: str, told: Response, expected: type) -> None:
        connector, _ = shop(*book(), told)
        assert isinstance(connector.record_order_refund(RECORD), expected)

    def test_invalid_amount_with_a_record_of_ours_is_done(self) -> None:
        told = error(500, message="Invalid refund amount.")
        connector, _ = shop(*book(), told, *book(refund(step=RECORD_STEP, is_paid=False)))
        assert connector.record_order_refund(RECORD) == Done("901")
        connector, _ = shop(*book(), told, *book())
        assert isinstance(connector.record_order_refund(RECORD), Permanent)

    def test_absence_counts_once_php_has_had_its_time(self) -> None:
        connector, _ = shop(*book())
        said = connector.find_record_order_refund(RECORD)
        assert isinstance(said, NotFound)
        assert said.conclusive_after_s == RECORD_SETTLED_S


class TestRestock:
    @pytest.mark.parametrize(
        ("_case", "changes", "records", "command", "expected"),
        [
            (
                "our cancel, stock gone back",
                {"status": "cancelled", "meta_data": ours(CANCEL_STEP)},
                [],
                RESTOCK,
                Done,
            ),
            ("somebody else's cancel", {"status": "cancelled"}, [], RESTOCK, Done),
            (
                "our cancel, refunded since",
                {"status": "refunded", "meta_data": ours(CANCEL_STEP)},
                [],
                RESTOCK,
                Done,
            ),
            (
                "a plugin forbids it",
                {"status": "cancelled", "line_items": [line(315, 2, "30", "5.70", reduced=2)]},
                [],
                RESTOCK,
                "not_restocked",
            ),
            (
                "a line of another order",
                {"status": "cancelled", "line_items": []},
                [],
                RESTOCK,
                "unknown_line",
            ),
            (
                "our refund",
                {"line_items": [line(315, 2, "30", "5.70", reduced=0, restocked=2)]},
                [refund(901, "35.70", STEP, lines={315: (2, "30", "5.70")})],
                replace(RESTOCK, carried_by=STEP),
                Done,
            ),
            (
                "our refund of articles whose stock is not managed",
                {},
                [refund(901, "35.70", STEP, lines={315: (2, "30", "5.70")})],
                replace(RESTOCK, carried_by=STEP),
                Done,
            ),
            (
                "our refund, and the shop still holds them",
                {"line_items": [line(315, 2, "30", "5.70", reduced=2)]},
                [refund(901, "35.70", STEP, lines={315: (2, "30", "5.70")})],
                replace(RESTOCK, carried_by=STEP),
                "not_restocked",
            ),
            (
                "our refund of fewer units",
                {},
                [refund(901, "35.70", STEP, lines={315: (1, "15", "2.85")})],
                replace(RESTOCK, carried_by=STEP),
                "not_restocked",
            ),
            ("nothing of ours", {}, [], RESTOCK, "restock_unproven"),
            (
                "nothing of ours, refunded by somebody",
                {"status": "refunded"},
                [],
                RESTOCK,
                "restock_unproven",
            ),
        ],
    )
    def test_it_is_proved_not_sent(
        self, _case: str, changes: dict[str, Any], records: list[Any], command: Restock, expected: Any
    ) -> None:
        connector, http = shop(*book(*records, **changes), *book(*records, **changes))
        said, found = connector.restock(command), connector.find_restock(command)
        match expected:
            case str():
                assert isinstance(said, Permanent)
                assert said.code == expected
                assert isinstance(found, NotFound if expected == "restock_unproven" else Permanent)
            case _:
                assert isinstance(said, expected)
                assert found == said
        assert {r.method for r in http.requests} == {"GET"}

    def test_there_is_no_call_for_stock_alone(self) -> None:
        connector, http = shop()
        said = connector.restock(replace(RESTOCK, carried_by=""))
        assert isinstance(said, Permanent)
        assert said.code == "no_own_restock"
        assert http.requests == []


class TestReadPayment:
    def test_the_order_is_the_payment(self) -> None:
        records = [
            refund(903, "10.00", is_paid=False),
            refund(902, "5.00"),
            refund(901, "20.00", STEP),
            refund(900, "3.00", f"{STEP}1", is_paid=False),
        ]
        connector, _ = shop(*book(*records))
        facts = connector.read_payment("723", "723")
        assert facts == PaymentFacts(
            platform="woocommerce",
            reference="723",
            state=PaymentState.CAPTURED,
            authorised=Money(0, "EUR"),
            captured=TOTAL,
            refunds=(
                RefundFact("903", Money(1000, "EUR"), RefundStatus.SUCCEEDED),
                RefundFact("902", Money(500, "EUR"), RefundStatus.SUCCEEDED),
                RefundFact("901", Money(2000, "EUR"), RefundStatus.SUCCEEDED, STEP),
                RefundFact("900", Money(300, "EUR"), RefundStatus.PENDING, f"{STEP}1"),
            ),
            gateway="stripe",
            order_number="1042",
        )

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            ({"date_paid_gmt": None}, PaymentState.AUTHORISED),
            ({"date_paid_gmt": None, "transaction_id": ""}, PaymentState.NOT_PAID),
        ],
    )
    def test_what_was_not_captured(self, changes: dict[str, Any], state: PaymentState) -> None:
        connector, _ = shop(*book(**changes))
        facts = connector.read_payment("", "723")
        assert isinstance(facts, PaymentFacts)
        assert facts.state is state
        assert facts.captured.minor == 0
        assert facts.authorised.minor == (5343 if state is PaymentState.AUTHORISED else 0)

    @pytest.mark.parametrize("method", ["bacs", "cheque", "cod"])
    def test_means_of_payment_that_send_nothing_back_say_so_beforehand(self, method: str) -> None:
        connector, _ = shop(*book(payment_method=method))
        facts = connector.read_payment("723", "723")
        assert isinstance(facts, PaymentFacts)
        assert method in facts.refund_refusal

    @pytest.mark.parametrize(("order_id", "reference"), [("723", "ch_1"), ("", "ch_1"), ("723", "724")])
    def test_other_references_are_not_its_payments(self, order_id: str, reference: str) -> None:
        connector, http = shop()
        assert isinstance(connector.read_payment(order_id, reference), Permanent)
        assert http.requests == []

    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            ({"id": 901, "amount": "1.234"}, Permanent),
            ({"id": 901}, Unknown),
            (
                refund(901, "1.00", lines={315: (1, "1", "0")}) | {"line_items": [{"id": 1, "total": "-1"}]},
                Unknown,
            ),
        ],
    )
    def test_a_refund_that_cannot_be_read_is_not_left_out(self, told: Any, expected: type) -> None:
        connector, _ = shop(answer(200, order()), listed(told))
        assert isinstance(connector.read_payment("723", "723"), expected)


class TestPoll:
    def test_the_first_window_begins_a_day_back_and_asks_in_utc(self) -> None:
        connector, http = shop(listed())
        polled = connector.poll("", NOW)
        params = dict(http.sent.params)
        assert params["modified_after"] == "2026-11-24T12:00:00"
        assert params["dates_are_gmt"] == "true"
        assert (params["per_page"], params["page"], params["orderby"], params["order"]) == (
            "100",
            "1",
            "id",
            "asc",
        )
        assert isinstance(polled, Polled)
        assert polled.events == ()
        assert not polled.has_more
        connector, http = shop(listed())
        connector.poll(polled.cursor, NOW + timedelta(minutes=5))
        assert dict(http.sent.params)["modified_after"] == "2026-11-25T11:45:00"

    def test_one_page_a_call_and_all_of_them_in_one_window(self) -> None:
        connector, http = shop(listed(pages=3), listed(pages=3), listed(pages=3))
        cursor, seen = "", []
        for minute in range(3):
            polled = connector.poll(cursor, NOW + timedelta(minutes=minute))
            assert isinstance(polled, Polled)
            cursor = polled.cursor
            seen.append(polled.has_more)
        assert seen == [True, True, False]
        assert [dict(r.params)["page"] for r in http.requests] == ["1", "2", "3"]
        assert {dict(r.params)["modified_after"] for r in http.requests} == {"2026-11-24T12:00:00"}
        # The next one begins where the first page was asked for: what changed while paging is met again.
        assert read_cursor(cursor, NOW + timedelta(hours=1)).since == NOW - POLL_OVERLAP

    def test_only_what_is_cancelled_or_refunded_is_news_and_no_customer_is_kept(self) -> None:
        orders = [
            order(id=1),
            order(id=2, status="cancelled"),
            order(id=3, status="refunded"),
            order(id=4, refunds=[{"id": 9, "total": "-1"}, {"id": 8, "total": "-1"}]),
            order(id=5, status="completed"),
        ]
        connector, _ = shop(listed(*orders))
        polled = connector.poll("", NOW)
        assert isinstance(polled, Polled)
        assert [e.source_event_id for e in polled.events] == [
            "2/2026-11-22T10:15:00/cancelled/",
            "3/2026-11-22T10:15:00/refunded/",
            "4/2026-11-22T10:15:00/processing/8.9",
        ]
        assert {e.topic for e in polled.events} == {"order.updated"}
        assert not any(b"ada@" in e.body or b"Lovelace" in e.body for e in polled.events)
        inbound = WooCommerceInbound(Secret("s"))
        assert [inbound.read_event(e.topic, e.body) for e in polled.events] == [
            OrderCancelledElsewhere(OrderRef("woocommerce", "2", "1042")),
            PaymentRefundsChanged("woocommerce", "3", OrderRef("woocommerce", "3", "1042")),
            PaymentRefundsChanged("woocommerce", "4", OrderRef("woocommerce", "4", "1042")),
        ]

    def test_a_delivery_about_the_same_has_the_same_id(self) -> None:
        told = order(status="cancelled", refunds=[{"id": 9, "total": "-1"}])
        connector, _ = shop(listed(told))
        polled = connector.poll("", NOW)
        assert isinstance(polled, Polled)
        body = json.dumps(told).encode()
        verified = WooCommerceInbound(Secret("s")).verify(delivery(body, "s"), NOW)
        assert verified == Verified(polled.events[0].source_event_id, "order.updated")

    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            (answer(200, []), Unknown),
            (listed({"id": 1}), Unknown),
            (listed(None), Unknown),
            (answer(200, "<html>"), Unknown),
            (answer(503, ""), Retryable),
            (answer(401, ""), Retryable),
            (error(400, "rest_invalid_param"), Permanent),
        ],
    )
    def test_a_page_that_cannot_be_read_moves_nothing(self, told: Response, expected: type) -> None:
        connector, _ = shop(told)
        assert isinstance(connector.poll("", NOW), expected)

    @pytest.mark.parametrize("cursor", ["x", "2026-11-25", "2026-13-45T00:00:00/1/x", "/2/"])
    def test_a_cursor_that_cannot_be_read_begins_anew(self, cursor: str) -> None:
        assert read_cursor(cursor, NOW).since == NOW - timedelta(days=1)

    def test_cursors_come_back_as_they_were(self) -> None:
        window = read_cursor("", NOW).following(has_more=True)
        assert read_cursor(write_cursor(window), NOW + timedelta(days=1)) == window


def signature(body: bytes, secret: str, algorithm: str = "sha256") -> str:
    return base64.b64encode(hmac.digest(secret.encode(), body, getattr(hashlib, algorithm))).decode()


def delivery(body: bytes, secret: str, topic: str = "order.updated", **headers: str) -> Delivery:
    named = {
        "x-wc-webhook-topic": topic,
        "x-wc-webhook-signature": signature(body, secret),
        "x-wc-webhook-delivery-id": "d1",
    }
    return Delivery(named | {n.replace("_", "-"): v for n, v in headers.items()}, body)


class TestInbound:
    INBOUND = WooCommerceInbound(Secret("old-secret, new-secret"))
    BODY = json.dumps(order(status="cancelled")).encode()

    @pytest.mark.parametrize("secret", ["old-secret", "new-secret"])
    def test_either_secret_holds_while_one_is_replaced(self, secret: str) -> None:
        assert self.INBOUND.verify(delivery(self.BODY, secret), NOW) == Verified(
            "723/2026-11-22T10:15:00/cancelled/", "order.updated"
        )

    @pytest.mark.parametrize(
        ("_case", "headers", "body"),
        [
            ("another secret", {"x-wc-webhook-signature": signature(BODY, "wrong")}, BODY),
            ("another body", {}, BODY + b" "),
            (
                "in hexadecimal",
                {"x-wc-webhook-signature": hmac.new(b"old-secret", BODY, "sha256").hexdigest()},
                BODY,
            ),
            ("an older digest", {"x-wc-webhook-signature": signature(BODY, "old-secret", "sha1")}, BODY),
            ("no signature", {"x-wc-webhook-signature": ""}, BODY),
            ("no topic", {"x-wc-webhook-topic": ""}, BODY),
            (
                "topic and body signed",
                {"x-wc-webhook-signature": signature(b"order.updated" + BODY, "old-secret")},
                BODY,
            ),
            (
                "both secrets as one",
                {"x-wc-webhook-signature": signature(BODY, "old-secret, new-secret")},
                BODY,
            ),
            ("no text", {"x-wc-webhook-signature": "\udcff"}, BODY),
        ],
    )
    def test_what_is_not_signed_so_is_refused(self, _case: str, headers: dict[str, str], body: bytes) -> None:
        good = delivery(self.BODY, "old-secret")
        assert isinstance(self.INBOUND.verify(Delivery(good.headers | headers, body), NOW), Refused)

    def test_without_a_secret_everything_signed_is_refused(self) -> None:
        assert isinstance(WooCommerceInbound(Secret()).verify(delivery(self.BODY, "x"), NOW), Refused)

    @pytest.mark.parametrize("secrets", ["", "old-secret"])
    def test_the_ping_of_a_new_webhook_is_greeted(self, secrets: str) -> None:
        ping = Delivery({"content-type": "application/x-www-form-urlencoded"}, b"webhook_id=12")
        assert isinstance(WooCommerceInbound(Secret(secrets)).verify(ping, NOW), Greeting)

    @pytest.mark.parametrize(
        "body",
        [b"webhook_id=12&id=7", b"webhook_id=", b"webhook_id=12\n", b"id=12", b"", b'{"webhook_id":12}'],
    )
    def test_nothing_else_is_greeted(self, body: bytes) -> None:
        assert isinstance(self.INBOUND.verify(Delivery({}, body), NOW), Refused)

    def test_a_ping_with_a_wrong_signature_is_refused(self) -> None:
        ping = Delivery({"x-wc-webhook-signature": "x", "x-wc-webhook-topic": "t"}, b"webhook_id=12")
        assert isinstance(self.INBOUND.verify(ping, NOW), Refused)

    @pytest.mark.parametrize(
        ("shown", "used"),
        [
            ("a&amp;b&quot;c", 'a&b"c'),
            ("a&#039;b&#x27;c", "a'b'c"),
            ("&lt;&gt;", "<>"),
            ("a&ltb&copy;", "a&ltb&copy;"),
            ("a&amp;lt;", "a&lt;"),
            ("plain", "plain"),
        ],
    )
    def test_a_secret_shown_with_entities_is_decoded_once(self, shown: str, used: str) -> None:
        assert decode_secret(shown) == used
        inbound = WooCommerceInbound(Secret(shown))
        assert isinstance(inbound.verify(delivery(self.BODY, used), NOW), Verified)

    def test_bodies_without_a_time_are_told_apart_by_their_sending(self) -> None:
        body = b'{"action":"woocommerce_order_status_cancelled","arg":723}'
        topic = "action.woocommerce_order_status_cancelled"
        first = self.INBOUND.verify(delivery(body, "old-secret", topic), NOW)
        again = self.INBOUND.verify(delivery(body, "old-secret", topic), NOW)
        later = self.INBOUND.verify(delivery(body, "old-secret", topic, x_wc_webhook_delivery_id="d2"), NOW)
        assert first == again
        assert first != later
        assert isinstance(first, Verified)

    @pytest.mark.parametrize(
        ("_case", "topic", "body", "expected"),
        [
            (
                "cancelled",
                "order.updated",
                order(status="cancelled"),
                OrderCancelledElsewhere(OrderRef("woocommerce", "723", "1042")),
            ),
            (
                "refunded in part",
                "order.updated",
                order(refunds=[{"id": 9, "total": "-1.00"}]),
                PaymentRefundsChanged("woocommerce", "723", OrderRef("woocommerce", "723", "1042")),
            ),
            (
                "by its action",
                "action.woocommerce_order_status_cancelled",
                {"action": "woocommerce_order_status_cancelled", "arg": 723},
                OrderCancelledElsewhere(OrderRef("woocommerce", "723")),
            ),
        ],
    )
    def test_what_deliveries_say(self, _case: str, topic: str, body: Any, expected: object) -> None:
        assert self.INBOUND.read_event(topic, json.dumps(body).encode()) == expected

    @pytest.mark.parametrize(
        ("topic", "body"),
        [
            ("order.updated", order()),
            ("order.created", order(status="pending")),
            ("order.deleted", {"id": 723}),
            ("product.updated", {"id": 1, "status": "publish"}),
            ("subscription.updated", order(status="cancelled")),
            ("action.woocommerce_payment_complete", {"action": "x", "arg": 723}),
        ],
    )
    def test_what_asks_nothing_of_us(self, topic: str, body: Any) -> None:
        assert isinstance(self.INBOUND.read_event(topic, json.dumps(body).encode()), Irrelevant)

    @pytest.mark.parametrize(
        ("topic", "body"),
        [
            ("order.updated", b"{}"),
            ("order.updated", b"[]"),
            ("order.updated", b"nonsense"),
            ("order.updated", b'{"id": 723}'),
            ("order.updated", b'{"id": "723", "status": "cancelled"}'),
            ("order.updated", b'{"id": true, "status": "cancelled"}'),
            ("action.woocommerce_order_status_cancelled", b'{"arg": "x"}'),
            ("action.woocommerce_order_status_cancelled", b"null"),
        ],
    )
    def test_what_cannot_be_read_says_where(self, topic: str, body: bytes) -> None:
        with pytest.raises(MalformedError) as caught:
            self.INBOUND.read_event(topic, body)
        assert caught.value.field


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "currency", "minor"),
        [
            ("41.90", "EUR", 4190),
            ("41.900000", "EUR", 4190),
            ("1000.00", "JPY", 1000),
            ("1.234", "KWD", 1234),
            ("41.901", "EUR", None),
            ("1e3", "EUR", None),
            ("", "EUR", None),
            ("NaN", "EUR", None),
            ("0.5", "JPY", None),
        ],
    )
    def test_amounts_are_exact_or_none(self, text: str, currency: str, minor: int | None) -> None:
        assert money_of(text, currency) == (None if minor is None else Money(minor, currency))

    @pytest.mark.parametrize(
        ("value", "minor"),
        [
            ("35.2149", 3521),
            ("35.215", 3522),
            ("-35.215", -3522),
            ("", 0),
            (None, 0),
            (12, 1200),
            (Decimal("0.5"), 50),
            ("x", None),
            ([], None),
        ],
    )
    def test_amounts_of_lines_are_rounded(self, value: Any, minor: int | None) -> None:
        assert rounded(value, "EUR") == minor

    @pytest.mark.parametrize(
        ("value", "units"),
        [("2", 2), (3, 3), ("0.5", 1), ("", 0), (None, 0), ("-1", 0), ("x", 0), (Decimal("1.0"), 1)],
    )
    def test_units_in_a_meta(self, value: Any, units: int) -> None:
        assert units_of(value) == units

    @pytest.mark.parametrize(
        ("reason", "step"),
        [
            (f"refundflow {STEP}", STEP),
            (f"Note: refundflow {STEP} (late)", STEP),
            ("myrefundflow x", ""),
            ("refundflow", ""),
            ("", ""),
        ],
    )
    def test_our_reference_in_a_reason(self, reason: str, step: str) -> None:
        assert step_key_in(reason) == step

    def test_customers_and_keys_are_named_for_masking(self) -> None:
        assert {
            "billing",
            "shipping",
            "customer_note",
            "order_key",
            "consumer_secret",
            "meta_data",
        } <= SPEC.redact
