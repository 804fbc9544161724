"""The connector against the practice Magento, in one process: what the shop's own book says happened, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Polled
from refundflow.connectors.magento import SETTLED_S, Credentials, Magento, MagentoInbound, build
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    TakesBack,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import OrderCancelledElsewhere, PaymentRefundsChanged
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import magento as practice
from refundflow.sandbox.base import Fault, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError
from tests.support.world_http import VENDORS, WorldWire

CASE = "RF-00K3ZQ4M7ABCDEF"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LINES: list[dict[str, Any]] = [
    {
        "id": 31,
        "sku": "MUG",
        "title": "Mug",
        "quantity": 2,
        "unit_minor": 1500,
        "tax_minor": 333,
        "discount_minor": 101,
    },
    {"id": 32, "sku": "TEA", "title": "Tea", "quantity": 1, "unit_minor": 750},
]
ALL = (LineQuantity("31", 2), LineQuantity("32", 1))
#: Two mugs (3000 + 333 - 101), a tea (750), shipping 500.
TOTAL = 4482


class Shop:
    """A practice shop whose clock tests can move, and the connector that talks to it, signing every call."""

    def __init__(self) -> None:
        self.now = NOW
        self.world = World([practice.Magento], clock=lambda: datetime.now(UTC))
        self.world.seed({"magento": {"settings": {"base_url": f"{VENDORS}/magento"}}})
        self.connector = build(signing(), WorldWire(self.world))

    def seed(self, **order: Any) -> dict[str, Any]:
        order = {"id": 7, "number": "000000123", "lines": LINES, "shipping_minor": 500, **order}
        made = self.world.seed({"magento": {"orders": [order]}})["magento"]["orders"]
        return dict(made[0])

    def set(self, **settings: Any) -> None:
        self.world.seed({"magento": {"settings": settings}})

    def settle(self, **what: Any) -> Any:
        return self.world.settle("magento", what)[0]

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.world.faults.add(Fault.read({"vendor": "magento", "operation": operation, "kind": kind, **more}))

    def book(self, *effects: str) -> list[tuple[Any, ...]]:
        lines = self.world.vendor("magento").book.lines()
        return [
            (x["effect"], x["amount_minor"] if x["amount_minor"] is not None else x.get("quantity"))
            for x in lines
            if not effects or x["effect"] in effects
        ]

    def order(self) -> OrderFacts:
        facts = self.connector.read_order(OrderRef("magento", "7"))
        assert isinstance(facts, OrderFacts), facts
        return facts

    def payment(self) -> PaymentFacts:
        reference = self.order().payments[0].transaction_id
        facts = self.connector.read_payment("7", reference)
        assert isinstance(facts, PaymentFacts), facts
        return facts


def signing(**changes: Any) -> Credentials:
    return replace(
        Credentials(
            base_url=f"{VENDORS}/magento",
            access_token=Secret(practice.ACCESS_TOKEN),
            consumer_key=practice.CONSUMER_KEY,
            consumer_secret=Secret(practice.CONSUMER_SECRET),
            access_token_secret=Secret(practice.ACCESS_TOKEN_SECRET),
        ),
        **changes,
    )


def refund(number: int = 1, key: int = 1, **changes: Any) -> Refund:
    step = StepKey(f"{CASE}.refund.{number}")
    return replace(
        Refund(
            step_key=step,
            key=wire_key(step, key),
            order_id="7",
            order_number="000000123",
            payment_reference="1",
            gateway="braintree",
            amount=Money(TOTAL, "EUR"),
            lines=ALL,
            takes_out=True,
            restock=True,
            is_whole=True,
        ),
        **changes,
    )


def record(number: int = 1, **changes: Any) -> RecordOrderRefund:
    step = StepKey(f"{CASE}.post_ledger.{number}")
    return replace(
        RecordOrderRefund(
            step_key=step,
            key=wire_key(step, 1),
            order_id="7",
            order_number="000000123",
            amount=Money(TOTAL, "EUR"),
            refund_references="re_1, re_2",
            lines=ALL,
            takes_out=True,
            restock=True,
            is_whole=True,
        ),
        **changes,
    )


STEP = StepKey(f"{CASE}.cancel_order.1")
CANCEL = CancelOrder(step_key=STEP, key=wire_key(STEP, 1), order_id="7", reason="customer", restock=True)


def restock(carried_by: str, **changes: Any) -> Restock:
    step = StepKey(f"{CASE}.restock.1")
    command = Restock(
        step_key=step, key=wire_key(step, 1), order_id="7", currency="EUR", lines=ALL, carried_by=carried_by
    )
    return replace(command, **changes)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


# ---------------------------------------------------------------- who calls


def test_every_call_is_signed_and_a_wrong_secret_is_the_houses_fault(shop: Shop) -> None:
    shop.seed()
    assert shop.connector.check().is_ok
    assert shop.order().number == "000000123"
    wrong = build(signing(access_token_secret=Secret("another-secret")), WorldWire(shop.world))
    assert not wrong.check().is_ok
    refused = wrong.refund(refund())
    assert isinstance(refused, Retryable)
    assert refused.code == "unauthorised"
    assert shop.book() == []


def test_a_store_view_is_part_of_what_is_signed(shop: Shop) -> None:
    shop.seed()
    connector = build(signing(store="default"), WorldWire(shop.world))
    assert isinstance(connector.read_order(OrderRef("magento", number="000000123")), OrderFacts)
    nowhere = build(signing(store="mars"), WorldWire(shop.world)).read_order(OrderRef("magento", "7"))
    assert isinstance(nowhere, Permanent)
    assert nowhere.code == "no_route"


def test_the_token_alone_will_do_where_the_merchant_allows_it(shop: Shop) -> None:
    shop.seed()
    bearer = Credentials(f"{VENDORS}/magento", Secret(practice.ACCESS_TOKEN), access_token_only="yes")
    connector = build(bearer, WorldWire(shop.world))
    assert not connector.check().is_ok
    shop.set(bearer=True)
    assert connector.check().is_ok
    assert isinstance(connector.refund(refund()), Done)


def test_a_missing_permission_is_found_before_any_money_is_asked_for(shop: Shop) -> None:
    shop.seed()
    views = ["Magento_Sales::actions_view", "Magento_Sales::sales_invoice", "Magento_Sales::comment"]
    shop.set(resources=views)
    refused = shop.connector.refund(refund())
    assert isinstance(refused, Retryable)
    assert refused.code == "unauthorised"
    assert shop.book() == []


# ---------------------------------------------------------------- what an order is


def test_a_paid_order_leaves_by_its_refund(shop: Shop) -> None:
    shop.seed(payments=[{"transaction_id": "bt_1"}])
    order = shop.order()
    assert (order.cancels, order.cancels_lines, order.cancel_refusal) == (
        TakesBack.REFUND,
        TakesBack.REFUND,
        "",
    )
    assert (order.total, order.currency, order.records_refunds) == (Money(TOTAL, "EUR"), "EUR", True)
    assert [(x.line_id, x.quantity, x.unfulfilled, x.refundable, x.unit.minor) for x in order.lines] == [
        ("31", 2, 2, 2, 1616),
        ("32", 1, 1, 1, 750),
    ]
    (payment,) = order.payments
    assert (payment.transaction_id, payment.gateway, payment.provider_reference) == ("1", "braintree", "bt_1")
    facts = shop.payment()
    assert (facts.state, facts.captured.minor, facts.refund_refusal) == (PaymentState.CAPTURED, TOTAL, "")


def test_an_authorised_order_is_cancelled_by_a_call_which_lets_the_money_go(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False, "transaction_id": "bt_1"}])
    order = shop.order()
    assert (order.cancels, order.cancels_lines, order.records_refunds) == (
        TakesBack.CALL,
        TakesBack.PERSON,
        False,
    )
    (payment,) = order.payments
    assert (payment.transaction_id, payment.is_captured, payment.amount.minor) == ("order:7", False, TOTAL)
    assert shop.payment().state is PaymentState.AUTHORISED

    assert isinstance(shop.connector.cancel_order(CANCEL), Done)
    assert isinstance(shop.connector.find_cancel_order(CANCEL), Done)
    assert shop.book() == [("void", TOTAL), ("restock", 2), ("restock", 1), ("cancel_order", None)]
    assert shop.world.vendor("magento").book.lines()[-1]["reference"] == f"refundflow {STEP} cancel"
    after = shop.order()
    assert after.cancelled_at is not None
    assert after.payments == ()
    found = shop.connector.read_payment("7", "order:7")
    assert isinstance(found, PaymentFacts)
    assert found.state is PaymentState.VOIDED


def test_a_transfer_that_never_came_is_no_payment(shop: Shop) -> None:
    shop.seed(payments=[{"gateway": "banktransfer", "is_captured": False}])
    assert shop.order().payments == ()
    assert shop.order().cancels is TakesBack.CALL


@pytest.mark.parametrize(
    ("_case", "order", "word"),
    [
        ("on hold", {"state": "holded"}, "on hold"),
        ("in review", {"state": "payment_review"}, "review"),
        ("complete", {"state": "complete"}, "complete"),
        ("partly invoiced", {"invoices": [{"lines": {"MUG": 2}}]}, "part of it is invoiced"),
        (
            "another currency",
            {"currency": "USD", "base_currency": "EUR", "base_to_order_rate": "1.1"},
            "base currency",
        ),
        (
            "a download in it",
            {"lines": [*LINES, {"sku": "PDF", "quantity": 1, "unit_minor": 100, "type": "virtual"}]},
            "PDF is nothing that is shipped",
        ),
    ],
)
def test_what_is_not_touched_says_why(shop: Shop, _case: str, order: dict[str, Any], word: str) -> None:
    shop.seed(**order)
    assert word in shop.order().cancel_refusal


def test_a_number_is_found_and_a_wrong_one_is_not(shop: Shop) -> None:
    shop.seed()
    found = shop.connector.read_order(OrderRef("magento", number="#000000123"))
    assert isinstance(found, OrderFacts)
    assert found.order_id == "7"
    assert isinstance(shop.connector.read_order(OrderRef("magento", number="123")), NotFound)
    assert isinstance(shop.connector.read_order(OrderRef("magento", "8")), NotFound)
    assert isinstance(shop.connector.read_payment("", "9"), NotFound)


def test_an_invoice_alone_leads_to_its_order(shop: Shop) -> None:
    shop.seed()
    facts = shop.connector.read_payment("", "1")
    assert isinstance(facts, PaymentFacts)
    assert facts.order_number == "000000123"


def test_captures_of_one_order_are_one_payment_each_and_a_person_refunds_them(shop: Shop) -> None:
    invoices = [
        {"lines": {"MUG": 2}, "transaction_id": "bt_1"},
        {"lines": {"TEA": 1}, "transaction_id": "bt_2"},
    ]
    shop.seed(invoices=invoices)
    payments = shop.order().payments
    assert [(p.transaction_id, p.provider_reference, p.amount.minor) for p in payments] == [
        ("1", "bt_1", 3732),
        ("2", "bt_2", 750),
    ]
    assert "several invoices" in shop.payment().refund_refusal
    refused = shop.connector.refund(refund(amount=Money(3732, "EUR")))
    assert isinstance(refused, Permanent)
    assert shop.book() == []


def test_one_transaction_behind_two_invoices_is_one_payment(shop: Shop) -> None:
    shop.seed(invoices=[{"lines": {"MUG": 2}}, {"lines": {"TEA": 1}}], payments=[{"transaction_id": "pi_1"}])
    (payment,) = shop.order().payments
    assert (payment.transaction_id, payment.provider_reference) == ("1+2", "pi_1")
    facts = shop.payment()
    assert (facts.captured.minor, facts.reference) == (TOTAL, "1+2")
    assert isinstance(shop.connector.refund(refund(payment_reference="1+2")), Permanent)


# ---------------------------------------------------------------- cancelling


def test_a_cancel_whose_answer_is_lost_is_found_and_not_repeated(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    shop.fault("cancel_order", "lost_reply")
    with pytest.raises(MaybeSentError):
        shop.connector.cancel_order(CANCEL)
    assert isinstance(shop.connector.find_cancel_order(CANCEL), Done)
    assert isinstance(shop.connector.cancel_order(CANCEL), Done)
    assert shop.book("cancel_order") == [("cancel_order", None)]


def test_a_cancel_that_never_arrived_is_not_there(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    shop.fault("cancel_order", "lost_request")
    with pytest.raises(MaybeSentError):
        shop.connector.cancel_order(CANCEL)
    found = shop.connector.find_cancel_order(CANCEL)
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s == SETTLED_S
    assert isinstance(shop.connector.cancel_order(CANCEL), Done)
    assert shop.book("cancel_order") == [("cancel_order", None)]


def test_a_500_after_the_cancel_is_looked_at_at_once(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    shop.fault("cancel_order", "status", status=500, is_after_effect=True)
    assert isinstance(shop.connector.cancel_order(CANCEL), Done)


def test_a_false_is_no_cancel_and_a_500_before_it_is_unknown(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    shop.fault("cancel_order", "refuse")
    said = shop.connector.cancel_order(CANCEL)
    assert isinstance(said, Permanent)
    assert said.code == "not_cancelled"
    shop.fault("cancel_order", "refuse", code="void_failed")
    said = shop.connector.cancel_order(CANCEL)
    assert isinstance(said, Permanent)
    assert "void" in said.reason
    shop.fault("cancel_order", "status", status=500)
    assert isinstance(shop.connector.cancel_order(CANCEL), Unknown)
    assert shop.book() == []


def test_somebody_elses_cancel_is_not_ours(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    shop.settle(order=7, admin_cancel=True)
    assert isinstance(shop.connector.cancel_order(CANCEL), AlreadyDone)
    assert isinstance(shop.connector.find_cancel_order(CANCEL), AlreadyDone)


def test_what_is_invoiced_in_the_same_moment_is_not_called_cancelled(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}], invoices=[{"lines": {"MUG": 2}}])
    said = shop.connector.cancel_order(CANCEL)
    assert isinstance(said, Permanent)
    assert said.code == "invoiced"
    shop.settle(order=7, admin_cancel=True)
    found = shop.connector.find_cancel_order(CANCEL)
    assert isinstance(found, Permanent)
    assert found.code == "partly_cancelled"
    # Now all that is left is invoiced: it leaves by a refund.
    order = shop.order()
    assert (order.cancels, order.cancel_refusal) == (TakesBack.REFUND, "")
    assert [(x.line_id, x.quantity) for x in order.lines] == [("31", 2), ("32", 0)]
    amount = Money(3732, "EUR")
    assert isinstance(shop.connector.refund(refund(amount=amount, lines=(LineQuantity("31", 2),))), Done)
    assert shop.book("refund") == [("refund", 3732)]
    assert shop.order().cancelled_at is not None


def test_a_reservation_is_ended_also_where_another_system_owns_the_stock(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    assert isinstance(shop.connector.cancel_order(replace(CANCEL, restock=False)), Done)


# ---------------------------------------------------------------- refunds


def test_a_whole_refund_is_one_credit_memo_with_its_shipping_and_its_stock(shop: Shop) -> None:
    before = shop.seed()["stock"]
    assert before == {"MUG": 10, "TEA": 10}
    done = shop.connector.refund(refund())
    assert isinstance(done, Done)
    assert done == shop.connector.find_refund(refund()) == shop.connector.refund(refund())
    assert shop.book() == [("refund", TOTAL), ("restock", 2), ("restock", 1)]
    assert {x["reference"] for x in shop.world.vendor("magento").book.lines()} == {
        f"refundflow {CASE}.refund.1"
    }
    told = shop.settle(order=7)
    assert (told["state"], told["stock"]) == ("closed", {"MUG": 12, "TEA": 11})

    order, facts = shop.order(), shop.payment()
    assert order.cancelled_at is not None
    assert (order.records_refunds, [line.quantity for line in order.lines]) == (False, [0, 0])
    assert [(r.reference, r.amount.minor, r.step_key) for r in facts.refunds] == [
        (done.reference, TOTAL, f"{CASE}.refund.1")
    ]
    assert shop.connector.restock(restock(f"{CASE}.refund.1")) == Done(
        done.reference,
        f"credit memo {done.reference} has these units, and was told to put them back",
    )
    assert isinstance(shop.connector.find_cancel_order(CANCEL), AlreadyDone)


def test_units_that_another_system_puts_back_are_not_put_back_here(shop: Shop) -> None:
    shop.seed()
    assert isinstance(shop.connector.refund(refund(restock=False)), Done)
    assert shop.book() == [("refund", TOTAL)]


def test_taxed_shipping_goes_back_whole(shop: Shop) -> None:
    shop.seed(shipping_tax_minor=95)
    amount = Money(TOTAL + 95, "EUR")
    assert isinstance(shop.connector.refund(refund(amount=amount)), Done)
    assert shop.book("refund") == [("refund", TOTAL + 95)]


def test_parts_are_refunded_one_after_another_and_sum_to_the_order(shop: Shop) -> None:
    shop.seed()
    order = shop.order()
    mug = (LineQuantity("31", 1),)
    first = shop.connector.quote_lines(order, mug)
    assert first == Money(1616, "EUR")
    part = refund(amount=first, lines=mug, is_whole=False)
    assert isinstance(shop.connector.refund(part), Done)
    second = shop.connector.quote_lines(order, mug)
    assert isinstance(second, Money)
    assert first.minor + second.minor == 3232
    again = refund(2, amount=second, lines=mug, is_whole=False)
    assert isinstance(shop.connector.refund(again), Done)
    left = Money(TOTAL - 3232, "EUR")
    assert isinstance(shop.connector.refund(refund(3, amount=left, lines=(LineQuantity("32", 1),))), Done)
    assert shop.book("refund") == [("refund", 1616), ("refund", second.minor), ("refund", 1250)]
    assert shop.settle(order=7)["state"] == "closed"


def test_less_than_the_units_are_worth_is_less(shop: Shop) -> None:
    shop.seed()
    part = refund(amount=Money(1000, "EUR"), lines=(LineQuantity("31", 1),), is_whole=False)
    assert isinstance(shop.connector.refund(part), Done)
    assert shop.book() == [("refund", 1000), ("restock", 1)]


def test_money_alone_takes_nothing_out_of_the_order(shop: Shop) -> None:
    shop.seed()
    alone = refund(amount=Money(1234, "EUR"), lines=(), takes_out=False, restock=False, is_whole=False)
    assert isinstance(shop.connector.refund(alone), Done)
    named = refund(2, amount=Money(100, "EUR"), takes_out=False, restock=False, is_whole=False)
    assert isinstance(shop.connector.refund(named), Done)
    assert shop.book() == [("refund", 1234), ("refund", 100)]
    assert [line.refundable for line in shop.order().lines] == [2, 1]
    rest = refund(3, amount=Money(TOTAL - 1334, "EUR"))
    assert isinstance(shop.connector.refund(rest), Done)
    assert shop.settle(order=7)["state"] == "closed"


def test_money_alone_without_shipping_left_is_refused_before_it_is_asked_for(shop: Shop) -> None:
    shop.seed(shipping_minor=0)
    alone = refund(amount=Money(100, "EUR"), lines=(), takes_out=False, is_whole=False)
    said = shop.connector.refund(alone)
    assert isinstance(said, Permanent)
    assert said.code == "no_products"
    assert isinstance(shop.connector.find_refund(alone), NotFound)


def test_shipped_units_that_came_back_are_refunded_with_the_order(shop: Shop) -> None:
    shop.seed()
    shop.settle(order=7, ship="all")
    order = shop.order()
    assert order.is_fulfilled
    quote = shop.connector.quote_lines(order, ALL)
    assert quote == Money(3982, "EUR")
    assert isinstance(shop.connector.refund(refund(amount=quote, is_whole=False)), Done)
    assert shop.book() == [("refund", 3982), ("restock", 2), ("restock", 1)]
    assert isinstance(shop.connector.restock(restock(f"{CASE}.refund.1", is_return=True)), Done)
    assert shop.order().cancelled_at is None


def test_a_configurable_product_is_one_line_and_refunded_as_such(shop: Shop) -> None:
    lines = [{"id": 41, "sku": "TEE", "quantity": 2, "unit_minor": 1000, "type": "configurable"}]
    shop.seed(lines=lines)
    assert [x.line_id for x in shop.order().lines] == ["41"]
    whole = refund(amount=Money(2500, "EUR"), lines=(LineQuantity("41", 2),))
    assert isinstance(shop.connector.refund(whole), Done)
    assert shop.book() == [("refund", 2500), ("restock", 2)]


def test_a_refund_whose_answer_is_lost_is_found_by_its_memo(shop: Shop) -> None:
    shop.seed()
    shop.fault("refund_invoice", "lost_reply")
    with pytest.raises(MaybeSentError):
        shop.connector.refund(refund())
    assert isinstance(shop.connector.find_refund(refund()), Done)
    assert isinstance(shop.connector.refund(refund()), Done)
    assert shop.book("refund") == [("refund", TOTAL)]


def test_a_500_after_the_refund_is_looked_at_at_once(shop: Shop) -> None:
    shop.seed()
    shop.fault("refund_invoice", "status", status=500, is_after_effect=True)
    assert isinstance(shop.connector.refund(refund()), Done)
    assert shop.book("refund") == [("refund", TOTAL)]


@pytest.mark.parametrize("code", ["could_not_refund", "gateway_declined"])
def test_could_not_save_says_nothing_about_the_money(shop: Shop, code: str) -> None:
    """The gateway may have paid or not, and the shop says the very same."""
    shop.seed()
    shop.fault("refund_invoice", "refuse", code=code)
    assert isinstance(shop.connector.refund(refund()), Unknown)
    found = shop.connector.find_refund(refund())
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s is None
    assert "gateway" in found.reason
    assert shop.book("refund") == ([("refund", TOTAL)] if code == "could_not_refund" else [])


def test_a_request_that_was_lost_after_the_mark_cannot_be_told_from_one_that_paid(shop: Shop) -> None:
    shop.seed()
    shop.fault("refund_invoice", "lost_request")
    with pytest.raises(MaybeSentError):
        shop.connector.refund(refund())
    found = shop.connector.find_refund(refund())
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s is None


@pytest.mark.parametrize("operation", ["get_order", "list_invoices", "comment_order", "list_creditmemos"])
@pytest.mark.parametrize("kind", ["lost_reply", "lost_request", "status", "html"])
def test_trouble_before_the_money_is_never_unknown(shop: Shop, operation: str, kind: str) -> None:
    shop.seed()
    more = {"status": 503} if kind in ("status", "html") else {}
    shop.fault(operation, kind, **more)
    said = shop.connector.refund(refund())
    assert isinstance(said, Retryable)
    assert shop.book() == []
    assert isinstance(shop.connector.refund(refund()), Done)
    assert shop.book("refund") == [("refund", TOTAL)]
    marks = [x for x in shop.world.calls if x["operation"] == "comment_order" and x["status"] == 200]
    assert len(marks) <= 1


@pytest.mark.parametrize("kind", ["lost_reply", "status", "html"])
def test_a_memo_that_cannot_be_read_back_is_read_later(shop: Shop, kind: str) -> None:
    shop.seed()
    shop.fault("get_creditmemo", kind, status=500)
    said = shop.connector.refund(refund())
    assert type(said).__name__ == "Pending"
    assert isinstance(shop.connector.find_refund(refund()), Done)
    assert shop.book("refund") == [("refund", TOTAL)]


def test_a_validation_error_is_a_no_and_a_new_key_may_try_again(shop: Shop) -> None:
    shop.seed()
    shop.fault("refund_invoice", "refuse", code="invalid_quantity")
    said = shop.connector.refund(refund())
    assert isinstance(said, Permanent)
    assert said.code == "validation"
    assert "invalid quantity" in said.reason
    fresh = shop.connector.find_refund(refund(key=2))
    assert isinstance(fresh, NotFound)
    assert fresh.conclusive_after_s == SETTLED_S
    assert isinstance(shop.connector.refund(refund(key=2)), Done)
    assert shop.book("refund") == [("refund", TOTAL)]


def test_a_slow_shop_is_asked_again_later(shop: Shop) -> None:
    shop.seed()
    shop.fault("refund_invoice", "status", status=429, headers={"Retry-After": "9"})
    said = shop.connector.refund(refund())
    assert isinstance(said, Retryable)
    assert (said.code, said.after_s) == ("throttled", 9.0)
    assert isinstance(shop.connector.refund(refund()), Done)
    assert shop.book("refund") == [("refund", TOTAL)]


def test_money_that_a_person_gave_back_is_not_given_twice(shop: Shop) -> None:
    shop.seed()
    shop.settle(order=7, admin_refund={"is_online": True})
    said = shop.connector.refund(refund())
    assert isinstance(said, Permanent)
    assert said.code == "refunded_elsewhere"
    found = shop.connector.find_refund(refund())
    assert isinstance(found, Permanent)
    assert found.code == "refunded_elsewhere"
    assert shop.book("refund") == [("refund", TOTAL)]
    assert shop.payment().refunded_elsewhere == TOTAL


def test_money_without_a_gateways_transaction_is_paid_back_by_hand(shop: Shop) -> None:
    shop.seed(payments=[{"gateway": "checkmo"}])
    assert "by hand" in shop.payment().refund_refusal
    said = shop.connector.refund(refund())
    assert isinstance(said, Permanent)
    assert shop.book() == []


def test_a_gateway_that_refunds_all_or_nothing_is_left_to_a_person(shop: Shop) -> None:
    shop.seed(payments=[{"is_partly_refundable": False}])
    part = refund(amount=Money(1616, "EUR"), lines=(LineQuantity("31", 1),), is_whole=False)
    assert isinstance(shop.connector.refund(part), Unknown)
    assert isinstance(shop.connector.find_refund(part), NotFound)
    assert shop.book() == []


# ---------------------------------------------------------------- written down


def test_a_refund_that_others_paid_is_written_down_once_and_moves_no_money(shop: Shop) -> None:
    shop.seed()
    done = shop.connector.record_order_refund(record())
    assert isinstance(done, Done)
    assert shop.connector.find_record_order_refund(record()) == done
    assert shop.connector.record_order_refund(record()) == done
    assert shop.book() == [("record_refund", TOTAL), ("restock", 2), ("restock", 1)]
    assert shop.world.vendor("magento").book.lines()[0]["reference"] == (
        f"refundflow {CASE}.post_ledger.1 paid back as re_1, re_2"
    )
    assert isinstance(shop.connector.restock(restock(f"{CASE}.post_ledger.1")), Done)


def test_a_record_whose_answer_is_lost_is_found_and_an_absence_is_a_proof(shop: Shop) -> None:
    shop.seed()
    shop.fault("refund_order", "lost_request")
    with pytest.raises(MaybeSentError):
        shop.connector.record_order_refund(record())
    found = shop.connector.find_record_order_refund(record())
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s == SETTLED_S
    shop.fault("refund_order", "lost_reply")
    with pytest.raises(MaybeSentError):
        shop.connector.record_order_refund(record())
    assert isinstance(shop.connector.find_record_order_refund(record()), Done)
    assert shop.book("record_refund") == [("record_refund", TOTAL)]


def test_a_record_takes_units_of_several_invoices(shop: Shop) -> None:
    shop.seed(invoices=[{"lines": {"MUG": 2}}, {"lines": {"TEA": 1}}])
    assert isinstance(shop.connector.record_order_refund(record()), Done)
    assert shop.book("record_refund") == [("record_refund", TOTAL)]
    assert shop.settle(order=7)["state"] == "closed"


def test_what_was_never_invoiced_takes_no_record(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    said = shop.connector.record_order_refund(record())
    assert isinstance(said, Permanent)
    assert shop.book() == []


# ---------------------------------------------------------------- stock


def test_a_restock_without_a_carrier_is_for_a_person(shop: Shop) -> None:
    shop.seed()
    alone = shop.connector.restock(restock(""))
    assert isinstance(alone, Permanent)
    assert alone.code == "no_call"
    unproven = shop.connector.restock(restock(f"{CASE}.refund.1"))
    assert isinstance(unproven, Permanent)
    assert unproven.code == "restock_unproven"
    assert shop.book() == []


def test_the_proof_of_a_restock_is_its_cancel(shop: Shop) -> None:
    shop.seed(payments=[{"is_captured": False}])
    assert isinstance(shop.connector.find_restock(restock(STEP)), NotFound)
    shop.connector.cancel_order(CANCEL)
    assert isinstance(shop.connector.restock(restock(STEP)), Done)


# ---------------------------------------------------------------- polling


def looked(connector: Magento, cursor: str, now: datetime) -> Polled:
    found = connector.poll(cursor, now)
    assert isinstance(found, Polled), found
    return found


def test_polling_finds_what_others_cancelled_and_what_we_refunded(shop: Shop) -> None:
    shop.seed(id=5, number="5", lines=[{"sku": "A", "quantity": 1, "unit_minor": 100}])
    shop.seed(
        id=6,
        number="6",
        lines=[{"sku": "A", "quantity": 1, "unit_minor": 100}],
        payments=[{"is_captured": False}],
    )
    shop.seed(id=8, number="8", lines=[{"sku": "A", "quantity": 1, "unit_minor": 100}])
    shop.seed(lines=LINES, id=7)
    invoice = shop.order().payments[0].transaction_id
    now = datetime.now(UTC)
    first = looked(shop.connector, "", now)
    assert (first.events, first.has_more) == ((), False)

    shop.settle(order=6, admin_cancel=True)
    shop.settle(order=8, admin_refund={"is_online": True})
    assert isinstance(shop.connector.refund(refund(payment_reference=invoice)), Done)
    second = looked(shop.connector, first.cursor, now + timedelta(seconds=60))
    reader = MagentoInbound()
    readings = {e.source_event_id: reader.read_event(e.topic, e.body) for e in second.events}
    assert readings == {
        "order:6:cancelled": OrderCancelledElsewhere(OrderRef("magento", "6", "6")),
        "order:8:refunded:6": OrderCancelledElsewhere(OrderRef("magento", "8", "8")),
        f"order:7:refunded:{TOTAL / 100:.2f}": PaymentRefundsChanged(
            "magento", "", OrderRef("magento", "7", "000000123")
        ),
    }
    assert not any(b"@" in e.body or b"Practice" in e.body for e in second.events)
    again = looked(shop.connector, second.cursor, now + timedelta(seconds=120))
    assert {e.source_event_id for e in again.events} == set(readings)


def test_pages_follow_each_other_by_the_last_row_and_miss_none(shop: Shop) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    for number in range(1, 206):
        shop.seed(
            id=number,
            number=f"{number:09d}",
            lines=[{"sku": "A", "quantity": 1, "unit_minor": 100, "stock": 1000}],
            payments=[{"is_captured": False, "gateway": "checkmo"}],
            state="canceled",
            # Many share a second: time alone would not tell where a page ended.
            updated_at=(at + timedelta(seconds=number // 90)).isoformat(),
        )
    seen: list[str] = []
    cursor, has_more, pages = "", True, 0
    while has_more:
        found = looked(shop.connector, cursor, datetime.now(UTC))
        seen += [event.source_event_id for event in found.events]
        cursor, has_more, pages = found.cursor, found.has_more, pages + 1
    assert (len(seen), len(set(seen)), pages) == (205, 205, 3)
    assert cursor == f"{at + timedelta(seconds=2) - timedelta(minutes=5):%Y-%m-%d %H:%M:%S}|0"
