"""BigCommerce against the practice store: its book says what really happened, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Polled
from refundflow.connectors.bigcommerce import BigCommerce, Credentials, build
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundStatus,
    TakesBack,
    Tender,
)
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
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
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.sandbox import bigcommerce as practice
from refundflow.sandbox.base import Fault, Kind, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request
from tests.support.world_http import VENDORS, WorldWire

NAME = "bigcommerce"
OPENED = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
CASE = mint_case_id(OPENED, 7)
CANCEL_STEP, RESTOCK_STEP, REFUND_STEP, RECORD_STEP = (
    mint_step_key(CASE, kind, 1) for kind in ("cancel_order", "restock", "refund", "post_ledger")
)
CREDENTIALS = Credentials(
    store_hash=practice.STORE_HASH,
    access_token=Secret(practice.TOKEN),
    client_secret=Secret(practice.CLIENT_SECRET),
    hook_token=Secret(practice.HOOK_HEADERS["X-Refundflow-Token"]),
    base_url=f"{VENDORS}/{NAME}",
)
ALL = (LineQuantity("8", 2), LineQuantity("9", 1))
ORDER: dict[str, Any] = {
    "id": 1001,
    "email": "ada@shop.example",
    "staff_notes": "call before delivery",
    "lines": [
        {"id": 8, "sku": "POSTER", "title": "Poster", "quantity": 2, "unit_minor": 1500, "stock": 3},
        {"id": 9, "sku": "FRAME", "unit_minor": 1250, "stock": 0},
    ],
    "shipping_minor": 1000,
    "payments": [{"gateway": "stripe", "transaction_id": "ch_1042"}],
}
WHOLE = Money(5250, "EUR")


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


class Store:
    """The practice store with one order over 52.50 EUR, our connector on it, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = OPENED + timedelta(minutes=5)
        self.world = World([practice.BigCommerce], clock=lambda: self.now)
        self.shop: BigCommerce = build(CREDENTIALS, WorldWire(self.world))
        self.made: dict[str, Any] = {}

    def order(self, **changes: Any) -> OrderFacts:
        [self.made] = self.seed(orders=[{**ORDER, **changes}])["orders"]
        return self.read()

    def seed(self, **described: Any) -> dict[str, Any]:
        return self.world.seed({NAME: described})[NAME]

    def read(self) -> OrderFacts:
        found = self.shop.read_order(OrderRef(NAME, "1001"))
        assert isinstance(found, OrderFacts), found
        return found

    def payment(self, reference: str = "1001:stripe") -> PaymentFacts:
        found = self.shop.read_payment("1001", reference)
        assert isinstance(found, PaymentFacts), found
        return found

    def settle(self, **data: Any) -> list[dict[str, Any]]:
        return self.world.settle(NAME, data)

    def fault(self, kind: Kind, operation: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind, vendor=NAME, operation=operation, **more))

    def book(self, effect: str) -> list[dict[str, Any]]:
        return self.world.vendor(NAME).book.lines(effect)

    def paid(self) -> list[tuple[int, str]]:
        return [(line["amount_minor"], line["target"]["provider"]) for line in self.book("refund")]

    def restocked(self) -> dict[str, int]:
        units: dict[str, int] = {}
        for line in self.book("restock"):
            units[line["sku"]] = units.get(line["sku"], 0) + line["quantity"]
        return units

    def notes(self) -> str:
        vendor: Any = self.world.vendor(NAME)
        return str(vendor.orders[1001].texts["staff_notes"])


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.world.close()


def cancel(**changes: Any) -> CancelOrder:
    command = CancelOrder(
        step_key=CANCEL_STEP,
        key=wire_key(CANCEL_STEP, 1),
        order_id="1001",
        order_number="1001",
        reason="customer",
        restock=False,
    )
    return replace(command, **changes)


def restock(**changes: Any) -> Restock:
    command = Restock(
        step_key=RESTOCK_STEP,
        key=wire_key(RESTOCK_STEP, 1),
        order_id="1001",
        currency="EUR",
        lines=ALL,
    )
    return replace(command, **changes)


def refund(**changes: Any) -> Refund:
    command = Refund(
        step_key=REFUND_STEP,
        key=wire_key(REFUND_STEP, 1),
        order_id="1001",
        order_number="1001",
        payment_reference="1001:stripe",
        gateway="stripe",
        amount=WHOLE,
        lines=ALL,
        is_whole=True,
    )
    return replace(command, **changes)


def record(**changes: Any) -> RecordOrderRefund:
    command = RecordOrderRefund(
        step_key=RECORD_STEP,
        key=wire_key(RECORD_STEP, 1),
        order_id="1001",
        order_number="1001",
        amount=WHOLE,
        refund_references="re_1, re_2",
        lines=ALL,
        is_whole=True,
    )
    return replace(command, **changes)


def lost(call: Callable[[], Outcome]) -> None:
    with pytest.raises(MaybeSentError):
        call()


def carry_out(store: Store, command: Refund) -> Found:
    """Sends a refund, and looks once at what became of it."""
    sent = store.shop.refund(command)
    return store.shop.find_refund(command) if isinstance(sent, Pending) else sent


class TestFacts:
    def test_an_order_is_read_with_lines_payments_and_what_can_be_done(self, store: Store) -> None:
        facts = store.order()
        assert (facts.number, facts.total, facts.email) == ("1001", WHOLE, "ada@shop.example")
        assert [(x.line_id, x.sku, x.quantity, x.unfulfilled, x.refundable, x.unit) for x in facts.lines] == [
            ("8", "POSTER", 2, 2, 2, eur(1500)),
            ("9", "FRAME", 1, 1, 1, eur(1250)),
        ]
        [payment] = facts.payments
        assert (payment.transaction_id, payment.gateway, payment.provider_reference, payment.amount) == (
            "1001:stripe",
            "stripe",
            "ch_1042",
            WHOLE,
        )
        assert (facts.cancels, facts.cancels_lines, facts.is_restock_carried) == (
            TakesBack.CALL,
            TakesBack.REFUND,
            False,
        )
        assert (facts.records_refunds, facts.releases_authorisations, facts.cancelled_at) == (
            True,
            False,
            None,
        )
        assert store.shop.read_order(OrderRef(NAME, number="#1001")) == facts

    def test_an_order_that_is_not_there_is_not_found(self, store: Store) -> None:
        assert isinstance(store.shop.read_order(OrderRef(NAME, "99")), NotFound)

    def test_shipped_units_are_fulfilled_and_a_shipped_order_wholly(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, ship={"8": 1})
        assert [(x.quantity, x.unfulfilled) for x in store.read().lines] == [(2, 1), (1, 1)]
        store.settle(order=1001, ship={"8": 1, "9": 1})
        assert store.read().is_fulfilled

    def test_a_dispute_is_told_by_the_order_and_by_its_payment(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, status_id=13)
        assert "disputed" in store.read().cancel_refusal
        assert store.payment().dispute is DisputeState.OPEN
        assert isinstance(store.shop.refund(refund()), Permanent)
        assert isinstance(store.shop.cancel_order(cancel()), Permanent)
        assert (store.paid(), store.book("cancel_order")) == ([], [])

    def test_each_means_of_payment_is_a_payment_of_its_own(self, store: Store) -> None:
        facts = store.order(
            payments=[
                {"gateway": "stripe", "amount_minor": 3250},
                {"gateway": "storecredit", "amount_minor": 1500},
                {"gateway": "giftcertificate", "amount_minor": 500},
            ]
        )
        assert [(p.transaction_id, p.amount, p.tender) for p in facts.payments] == [
            ("1001:stripe", eur(3250), Tender.CARD),
            ("1001:storecredit", eur(1500), Tender.STORE_CREDIT),
            ("1001:giftcertificate", eur(500), Tender.GIFT_CARD),
        ]
        assert store.payment("1001:storecredit").captured == eur(1500)
        assert isinstance(store.shop.read_payment("1001", "1001"), Permanent)

    def test_a_payment_without_transactions_is_named_by_its_method_and_refused_for_refunds(
        self, store: Store
    ) -> None:
        [payment] = store.order(payments=[{"gateway": "bankdeposit"}]).payments
        assert (payment.transaction_id, payment.gateway, payment.is_captured) == (
            "1001:bankdeposit",
            "bankdeposit",
            True,
        )
        assert "outside of BigCommerce" in store.payment("1001:bankdeposit").refund_refusal

    def test_units_are_quoted_as_they_are_refunded(self, store: Store) -> None:
        facts = store.order(
            lines=[{"id": 8, "quantity": 3, "unit_minor": 1000, "discount_minor": 100, "wrapping_minor": 50}]
        )
        assert store.shop.quote_lines(facts, (LineQuantity("8", 1),)) == eur(966 + 50)

    def test_refunds_of_others_are_seen_whatever_way_they_went(self, store: Store) -> None:
        store.order(refunds=[{"amount_minor": 1000}])
        facts = store.payment()
        assert (facts.refunded_elsewhere, facts.captured) == (1000, WHOLE)
        assert store.payment("1001").reference == "1001:stripe"

    def test_money_that_a_person_turned_into_store_credit_is_not_there_any_more(self, store: Store) -> None:
        store.order()
        body = {
            "items": [{"item_type": "ORDER", "item_id": 1001, "amount": 20}],
            "payments": [{"provider_id": "storecredit", "amount": 20, "offline": False}],
        }
        _post(store, "/v3/orders/1001/payment_actions/refunds", body)
        assert store.payment().refunded_elsewhere == 2000


def _post(store: Store, path: str, body: Any) -> Any:
    """A call by somebody else's hand."""
    answer = store.shop.http.send(Request("POST", path, "test", json=body))
    assert answer.status < 300, answer.text
    return answer.json


class TestCancel:
    def test_it_cancels_once_and_keeps_the_staffs_notes(self, store: Store) -> None:
        store.order()
        assert store.shop.find_cancel_order(cancel()) == NotFound(60.0, "the order is at status 11")
        assert store.shop.cancel_order(cancel()) == Done("1001")
        assert isinstance(store.shop.cancel_order(cancel()), Done)
        assert isinstance(store.shop.find_cancel_order(cancel()), Done)
        assert len(store.book("cancel_order")) == 1
        assert store.notes() == f"refundflow {CANCEL_STEP}: cancelled (customer)\ncall before delivery"
        assert store.read().cancelled_at is not None

    def test_a_lost_answer_is_found_and_not_repeated(self, store: Store) -> None:
        store.order()
        store.fault(Kind.LOST_REPLY, "update_order")
        lost(lambda: store.shop.cancel_order(cancel()))
        assert store.shop.find_cancel_order(cancel()) == Done("1001")
        assert store.shop.cancel_order(cancel()) == Done("1001")
        assert len(store.book("cancel_order")) == 1

    def test_a_lost_call_is_made_again_under_the_same_claim(self, store: Store) -> None:
        store.order()
        store.fault(Kind.LOST_REQUEST, "update_order")
        lost(lambda: store.shop.cancel_order(cancel()))
        assert isinstance(store.shop.find_cancel_order(cancel()), NotFound)
        assert store.shop.cancel_order(cancel()) == Done("1001")
        assert len(store.book("cancel_order")) == 1

    def test_somebody_elses_cancel_is_not_ours(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, status_id=5)
        assert isinstance(store.shop.find_cancel_order(cancel()), AlreadyDone)
        assert isinstance(store.shop.cancel_order(cancel()), AlreadyDone)

    def test_what_was_shipped_meanwhile_is_not_cancelled(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, ship={"9": 1})
        assert isinstance(store.shop.cancel_order(cancel()), Permanent)
        assert store.book("cancel_order") == []

    def test_a_refund_that_writes_over_the_status_leaves_the_order_cancelled(self, store: Store) -> None:
        store.order()
        store.shop.cancel_order(cancel())
        carry_out(store, refund(amount=eur(1000), lines=(), is_whole=False))
        vendor: Any = store.world.vendor(NAME)
        assert vendor.orders[1001].status_id == practice.PARTIALLY_REFUNDED
        assert store.read().cancelled_at is not None
        assert isinstance(store.shop.find_cancel_order(cancel()), Done)

    def test_an_order_that_was_only_refunded_in_part_is_not_cancelled(self, store: Store) -> None:
        store.order()
        carry_out(store, refund(amount=eur(1000), lines=(), is_whole=False))
        assert store.read().cancelled_at is None

    def test_an_order_that_somebody_refunded_in_full_is_not_cancelled_again(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, panel_refund={})
        assert store.read().cancelled_at is not None
        assert isinstance(store.shop.cancel_order(cancel()), AlreadyDone)
        assert store.book("cancel_order") == []

    def test_an_order_that_was_set_back_is_left_to_a_person(self, store: Store) -> None:
        store.order()
        store.shop.cancel_order(cancel())
        store.settle(order=1001, status_id=11)
        assert store.read().cancelled_at is None
        found = store.shop.find_cancel_order(cancel())
        assert isinstance(found, Permanent)
        assert found.code == "cancel_undone"


class TestRefund:
    def test_the_whole_order_goes_back_through_its_gateway_once(self, store: Store) -> None:
        store.order()
        sent = store.shop.refund(refund())
        assert isinstance(sent, Pending)
        found = store.shop.find_refund(refund())
        assert isinstance(found, Done)
        assert found.reference == sent.reference
        assert isinstance(store.shop.refund(refund()), Done)
        assert store.paid() == [(5250, "stripe")]
        assert store.read().lines[0].refundable == 0
        [fact] = store.payment().refunds
        assert (fact.step_key, fact.status, fact.amount) == (REFUND_STEP, RefundStatus.SUCCEEDED, WHOLE)

    def test_taxes_on_shipping_handling_fees_and_wrapping_are_all_part_of_the_whole(
        self, store: Store
    ) -> None:
        facts = store.order(
            lines=[
                {"id": 8, "quantity": 2, "unit_minor": 1190, "unit_tax_minor": 190, "wrapping_minor": 150},
                {"id": 9, "unit_minor": 1250, "discount_minor": 250},
            ],
            shipping_minor=595,
            shipping_tax_minor=95,
            handling_minor=200,
            fees=[{"name": "Deposit", "amount_minor": 300}],
        )
        assert isinstance(carry_out(store, refund(amount=facts.total)), Done)
        [line] = store.book("refund")
        assert line["amount_minor"] == facts.total.minor
        vendor: Any = store.world.vendor(NAME)
        kinds = {item["item_type"] for item in vendor.orders[1001].refunds[0].items}
        assert kinds == {"PRODUCT", "GIFT_WRAPPING", "SHIPPING", "HANDLING", "FEE"}

    def test_shipping_that_went_back_before_is_not_asked_for_again(self, store: Store) -> None:
        store.order()
        address = store.made["address_id"]
        store.settle(
            order=1001,
            panel_refund={"items": [{"item_type": "SHIPPING", "item_id": address, "amount": 4}]},
        )
        assert isinstance(carry_out(store, refund(amount=eur(4850))), Done)
        assert store.paid()[-1] == (4850, "stripe")

    def test_money_without_lines_is_a_lump_sum(self, store: Store) -> None:
        store.order()
        assert isinstance(carry_out(store, refund(amount=eur(777), lines=(), is_whole=False)), Done)
        assert store.paid() == [(777, "stripe")]
        assert store.read().lines[0].refundable == 2

    def test_lines_are_taken_out_by_the_refund(self, store: Store) -> None:
        facts = store.order()
        lines = (LineQuantity("8", 1),)
        quote = store.shop.quote_lines(facts, lines)
        assert quote == eur(1500)
        command = refund(amount=eur(1500), lines=lines, is_whole=False, takes_out=True)
        assert isinstance(carry_out(store, command), Done)
        assert [(x.quantity, x.unfulfilled) for x in store.read().lines] == [(1, 1), (1, 1)]

    def test_more_than_the_lines_are_worth_is_never_forced(self, store: Store) -> None:
        store.order()
        command = refund(amount=eur(1600), lines=(LineQuantity("8", 1),), is_whole=False, takes_out=True)
        said = store.shop.refund(command)
        assert isinstance(said, Permanent)
        assert (said.code, store.paid()) == ("amount_mismatch", [])

    def test_one_payments_share_of_the_lines_is_forced_and_the_other_follows(self, store: Store) -> None:
        store.order(
            payments=[
                {"gateway": "stripe", "amount_minor": 1000},
                {"gateway": "storecredit", "amount_minor": 4250},
            ]
        )
        lines = (LineQuantity("8", 1),)
        first = refund(amount=eur(1000), lines=lines, is_whole=False, takes_out=True)
        step = mint_step_key(CASE, "refund", 2)
        second = refund(
            step_key=step,
            key=wire_key(step, 1),
            amount=eur(500),
            lines=(),
            is_whole=False,
            payment_reference="1001:storecredit",
        )
        assert isinstance(carry_out(store, first), Done)
        assert isinstance(carry_out(store, second), Done)
        assert store.paid() == [(1000, "stripe"), (500, "storecredit")]
        assert store.read().lines[0].quantity == 1

    def test_a_whole_order_paid_in_two_ways_goes_back_in_both(self, store: Store) -> None:
        store.order(
            payments=[
                {"gateway": "stripe", "amount_minor": 4000},
                {"gateway": "giftcertificate", "amount_minor": 1250},
            ]
        )
        store.shop.cancel_order(cancel())
        step = mint_step_key(CASE, "refund", 2)
        second = refund(
            step_key=step,
            key=wire_key(step, 1),
            amount=eur(1250),
            lines=(),
            is_whole=False,
            payment_reference="1001:giftcertificate",
        )
        assert isinstance(carry_out(store, refund(amount=eur(4000))), Done)
        assert isinstance(carry_out(store, second), Done)
        assert store.paid() == [(4000, "stripe"), (1250, "giftcertificate")]
        assert store.read().cancelled_at is not None

    def test_a_way_that_spreads_the_money_is_left_to_a_person(self, store: Store) -> None:
        store.order(
            payments=[
                {"gateway": "giftcertificate", "amount_minor": 1250},
                {"gateway": "stripe", "amount_minor": 4000},
            ]
        )
        said = store.shop.refund(refund(amount=eur(4000)))
        assert isinstance(said, Permanent)
        assert (said.code, store.paid()) == ("no_way_back", [])

    def test_a_lost_answer_is_found_and_not_repeated(self, store: Store) -> None:
        store.order()
        store.fault(Kind.LOST_REPLY, "create_refund")
        lost(lambda: store.shop.refund(refund()))
        assert isinstance(store.shop.find_refund(refund()), Done)
        assert isinstance(store.shop.refund(refund()), Done)
        assert store.paid() == [(5250, "stripe")]

    def test_a_lost_call_is_made_again_under_the_same_claim(self, store: Store) -> None:
        store.order()
        store.fault(Kind.LOST_REQUEST, "create_refund")
        lost(lambda: store.shop.refund(refund()))
        assert store.shop.find_refund(refund()) == NotFound(60.0, "no refund carries our reference")
        assert isinstance(carry_out(store, refund()), Done)
        assert store.paid() == [(5250, "stripe")]

    def test_a_failure_after_the_act_is_unknown_and_found(self, store: Store) -> None:
        store.order()
        store.fault(Kind.STATUS, "create_refund", status=500, is_after_effect=True)
        assert isinstance(store.shop.refund(refund()), Unknown)
        assert isinstance(store.shop.find_refund(refund()), Done)
        assert store.paid() == [(5250, "stripe")]

    def test_a_quote_that_fails_did_nothing(self, store: Store) -> None:
        store.order()
        store.fault(Kind.STATUS, "quote_refund", status=503)
        said = store.shop.refund(refund())
        assert isinstance(said, Retryable)
        assert said.code == "unavailable"
        assert isinstance(carry_out(store, refund()), Done)
        assert store.paid() == [(5250, "stripe")]

    def test_a_refund_that_the_gateway_holds_is_pending_until_its_transaction_is_there(
        self, store: Store
    ) -> None:
        store.order()
        store.fault(Kind.SLOW_PENDING, "create_refund")
        sent = store.shop.refund(refund())
        assert isinstance(sent, Pending)
        assert isinstance(store.shop.find_refund(refund()), Pending)
        assert isinstance(store.shop.refund(refund()), Pending)
        assert store.payment().refunds[0].status is RefundStatus.PENDING
        store.settle(refund=int(sent.reference), status="succeeded")
        assert isinstance(store.shop.find_refund(refund()), Done)
        assert store.paid() == [(5250, "stripe")]

    def test_a_declined_refund_failed_and_a_new_key_may_try_again(self, store: Store) -> None:
        store.order()
        store.fault(Kind.SLOW_PENDING, "create_refund")
        sent = store.shop.refund(refund())
        assert isinstance(sent, Pending)
        store.settle(refund=int(sent.reference), status="declined", message="Card is closed.")
        found = store.shop.find_refund(refund())
        assert found == Permanent("refund_failed", f"refund {sent.reference}: Card is closed.")
        again = refund(key=wire_key(REFUND_STEP, 2))
        assert isinstance(store.shop.find_refund(again), NotFound)
        assert isinstance(carry_out(store, again), Done)
        assert store.paid() == [(5250, "stripe")]

    def test_a_late_decline_beats_the_transaction_that_is_still_shown(self, store: Store) -> None:
        store.order()
        store.fault(Kind.LATE_FAILURE, "create_refund")
        assert isinstance(carry_out(store, refund()), Done)
        store.settle()
        found = store.shop.find_refund(refund())
        assert isinstance(found, Permanent)
        assert found.code == "refund_failed"
        assert store.payment().refunded == 0

    def test_money_that_somebody_else_gave_back_is_told(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, panel_refund={})
        found = store.shop.find_refund(refund())
        assert isinstance(found, Permanent)
        assert found.code == "refunded_elsewhere"
        said = store.shop.refund(refund())
        assert not isinstance(said, Done | Pending)
        assert store.paid() == [(5250, "stripe")]

    def test_a_payment_that_is_not_settled_waits_for_hours(self, store: Store) -> None:
        store.order(payments=[{"gateway": "stripe", "is_settled": False}])
        said = store.shop.refund(refund())
        assert isinstance(said, Retryable)
        assert said.after_s == 4 * 3600.0
        store.settle(order=1001, payment="settled")
        assert isinstance(carry_out(store, refund()), Done)

    def test_a_gateway_that_cannot_refund_is_left_to_a_person(self, store: Store) -> None:
        store.order(payments=[{"gateway": "stripe", "can_refund": False}])
        said = store.shop.refund(refund())
        assert isinstance(said, Permanent)
        assert (said.code, store.paid(), store.book("record_refund")) == ("offline_only", [], [])

    def test_yen_are_whole(self, store: Store) -> None:
        facts = store.order(currency="JPY", lines=[{"id": 8, "unit_minor": 1500}], shipping_minor=0)
        assert facts.total == Money(1500, "JPY")
        command = refund(amount=Money(1500, "JPY"), lines=(LineQuantity("8", 1),))
        assert isinstance(carry_out(store, command), Done)
        assert store.paid() == [(1500, "stripe")]


class TestRecord:
    def test_what_others_paid_is_written_down_on_a_cancelled_order_and_moves_no_money(
        self, store: Store
    ) -> None:
        store.order()
        store.shop.cancel_order(cancel())
        assert isinstance(store.shop.find_record_order_refund(record()), NotFound)
        assert isinstance(store.shop.record_order_refund(record()), Done)
        assert isinstance(store.shop.record_order_refund(record()), Done)
        assert isinstance(store.shop.find_record_order_refund(record()), Done)
        [line] = store.book("record_refund")
        assert (line["amount_minor"], store.paid()) == (5250, [])
        assert line["reference"] == f"{wire_key(RECORD_STEP, 1)} (re_1, re_2)"
        assert store.read().cancelled_at is not None

    def test_a_lost_answer_is_found_and_not_repeated(self, store: Store) -> None:
        store.order()
        store.fault(Kind.LOST_REPLY, "create_refund")
        lost(lambda: store.shop.record_order_refund(record()))
        assert isinstance(store.shop.find_record_order_refund(record()), Done)
        assert isinstance(store.shop.record_order_refund(record()), Done)
        assert len(store.book("record_refund")) == 1

    def test_a_record_can_take_lines_out(self, store: Store) -> None:
        store.order()
        command = record(amount=eur(1250), lines=(LineQuantity("9", 1),), is_whole=False, takes_out=True)
        assert isinstance(store.shop.record_order_refund(command), Done)
        assert store.read().lines[1].quantity == 0
        assert (len(store.book("record_refund")), store.paid()) == (1, [])

    def test_more_than_is_left_is_not_recorded(self, store: Store) -> None:
        store.order(refunds=[{"amount_minor": 1000}])
        said = store.shop.record_order_refund(record())
        assert isinstance(said, Permanent)
        assert (said.code, store.book("record_refund")) == ("amount_mismatch", [])


class TestVoid:
    COMMAND = VoidPayment(
        step_key=REFUND_STEP,
        key=wire_key(REFUND_STEP, 1),
        order_id="1001",
        payment_reference="1001:stripe",
        amount=WHOLE,
    )

    @pytest.fixture
    def held(self, store: Store) -> Store:
        store.order(payments=[{"gateway": "stripe", "is_captured": False}])
        return store

    def test_an_authorisation_is_released_once_and_not_by_the_cancel(self, held: Store) -> None:
        facts = held.payment()
        assert (facts.state, facts.authorised) == (PaymentState.AUTHORISED, WHOLE)
        held.shop.cancel_order(cancel())
        assert held.book("void") == []
        assert isinstance(held.shop.find_void_payment(self.COMMAND), NotFound)
        assert isinstance(held.shop.void_payment(self.COMMAND), Pending)
        assert isinstance(held.shop.find_void_payment(self.COMMAND), Done)
        assert isinstance(held.shop.void_payment(self.COMMAND), Done)
        assert len(held.book("void")) == 1
        assert held.payment().state is PaymentState.VOIDED

    def test_a_lost_answer_is_found(self, held: Store) -> None:
        held.fault(Kind.LOST_REPLY, "void_payment")
        lost(lambda: held.shop.void_payment(self.COMMAND))
        assert isinstance(held.shop.find_void_payment(self.COMMAND), Done)
        assert len(held.book("void")) == 1

    def test_a_slow_one_is_pending_and_a_failed_one_may_go_again(self, held: Store) -> None:
        held.fault(Kind.SLOW_PENDING, "void_payment")
        held.shop.void_payment(self.COMMAND)
        assert isinstance(held.shop.find_void_payment(self.COMMAND), Pending)
        held.settle(order=1001, void="failed")
        assert isinstance(held.shop.find_void_payment(self.COMMAND), NotFound)
        held.shop.void_payment(self.COMMAND)
        assert isinstance(held.shop.find_void_payment(self.COMMAND), Done)

    def test_what_was_captured_meanwhile_is_refunded_instead(self, held: Store) -> None:
        held.settle(order=1001, payment="captured")
        said = held.shop.void_payment(self.COMMAND)
        assert isinstance(said, Permanent)
        assert said.code == "captured_meanwhile"

    def test_units_of_an_order_that_is_not_charged_are_worth_their_prices(self, held: Store) -> None:
        assert held.shop.quote_lines(held.read(), (LineQuantity("8", 1),)) == eur(1500)


class TestRestock:
    """Exactly once, whatever the store does with stock by itself."""

    @pytest.mark.parametrize("is_on", [True, False])
    @pytest.mark.parametrize("honoured", [(), ("cancel",), ("refund",), ("cancel", "refund")], ids=str)
    @pytest.mark.parametrize("payer", ["own", "other", "nobody"])
    def test_a_cancelled_order_comes_back_once_under_every_reading(
        self, store: Store, is_on: bool, honoured: tuple[str, ...], payer: str
    ) -> None:
        store.seed(
            habits={"api_adjusts_stock_on": list(honoured)},
            inventory={"refund_order_stock_adjustment": is_on},
        )
        is_captured = payer != "nobody"
        store.order(payments=[{"gateway": "stripe", "is_captured": is_captured}])
        assert isinstance(store.shop.cancel_order(cancel()), Done)
        first = store.shop.restock(restock())
        if is_captured and is_on and "cancel" not in honoured:
            assert isinstance(first, Retryable)
        else:
            assert isinstance(first, Done)
        match payer:
            case "own":
                assert isinstance(carry_out(store, refund()), Done)
            case "other":
                assert isinstance(store.shop.record_order_refund(record()), Done)
            case _:
                pass
        assert isinstance(store.shop.restock(restock()), Done)
        assert isinstance(store.shop.restock(restock()), Done)
        assert store.restocked() == {"POSTER": 2, "FRAME": 1}

    @pytest.mark.parametrize("is_on", [True, False])
    @pytest.mark.parametrize("honoured", [(), ("cancel", "refund")], ids=str)
    def test_units_that_a_refund_took_out_come_back_once(
        self, store: Store, is_on: bool, honoured: tuple[str, ...]
    ) -> None:
        store.seed(
            habits={"api_adjusts_stock_on": list(honoured)},
            inventory={"refund_order_stock_adjustment": is_on},
        )
        store.order()
        lines = (LineQuantity("8", 1),)
        assert isinstance(
            carry_out(store, refund(amount=eur(1500), lines=lines, is_whole=False, takes_out=True)), Done
        )
        command = restock(lines=lines)
        assert isinstance(store.shop.restock(command), Done)
        assert isinstance(store.shop.restock(command), Done)
        assert store.restocked() == {"POSTER": 1}

    @pytest.mark.parametrize("honoured", [(), ("refund",)], ids=str)
    def test_units_that_came_back_with_the_last_of_the_money_come_back_once(
        self, store: Store, honoured: tuple[str, ...]
    ) -> None:
        store.seed(habits={"api_adjusts_stock_on": list(honoured)})
        store.order(
            lines=[{"id": 8, "sku": "POSTER", "quantity": 2, "unit_minor": 1500, "stock": 3}],
            shipping_minor=0,
        )
        store.settle(order=1001, ship="all")
        lines = (LineQuantity("8", 2),)
        command = restock(lines=lines, is_return=True)
        assert isinstance(
            carry_out(store, refund(amount=eur(3000), lines=lines, is_whole=False, takes_out=True)), Done
        )
        assert isinstance(store.shop.restock(command), Done)
        assert store.restocked() == {"POSTER": 2}

    def test_a_lost_answer_is_found_by_the_levels_and_not_repeated(self, store: Store) -> None:
        store.seed(inventory={"refund_order_stock_adjustment": False})
        store.order()
        store.shop.cancel_order(cancel())
        assert isinstance(store.shop.find_restock(restock()), NotFound)
        store.fault(Kind.LOST_REPLY, "adjust_inventory")
        lost(lambda: store.shop.restock(restock()))
        assert isinstance(store.shop.find_restock(restock()), Done)
        assert isinstance(store.shop.restock(restock()), Done)
        assert store.restocked() == {"POSTER": 2, "FRAME": 1}

    def test_a_lost_call_is_made_again(self, store: Store) -> None:
        store.seed(inventory={"refund_order_stock_adjustment": False})
        store.order()
        store.shop.cancel_order(cancel())
        store.fault(Kind.LOST_REQUEST, "adjust_inventory")
        lost(lambda: store.shop.restock(restock()))
        assert isinstance(store.shop.find_restock(restock()), NotFound)
        assert isinstance(store.shop.restock(restock()), Done)
        assert store.restocked() == {"POSTER": 2, "FRAME": 1}

    def test_a_lost_answer_and_sales_meanwhile_are_left_to_a_person_under_every_key(
        self, store: Store
    ) -> None:
        store.seed(inventory={"refund_order_stock_adjustment": False})
        store.order()
        store.shop.cancel_order(cancel())
        store.fault(Kind.LOST_REPLY, "adjust_inventory")
        lost(lambda: store.shop.restock(restock()))
        store.settle(stock="POSTER", quantity=4)
        for number in (1, 2):
            command = restock(key=wire_key(RESTOCK_STEP, number))
            for said in (store.shop.find_restock(command), store.shop.restock(command)):
                assert isinstance(said, Permanent)
                assert said.code == "restock_unproven"
                assert "POSTER (now 4)" in said.reason
        assert store.restocked() == {"POSTER": 2, "FRAME": 1}

    def test_levels_that_moved_otherwise_are_left_to_a_person(self, store: Store) -> None:
        store.order()
        store.shop.cancel_order(cancel())
        store.settle(stock="POSTER", quantity=4)
        said = store.shop.restock(restock())
        assert isinstance(said, Permanent)
        assert (said.code, store.restocked()) == ("restock_unproven", {"POSTER": 2, "FRAME": 1})

    def test_a_store_that_returns_again_what_we_had_put_back_is_found_out(self, store: Store) -> None:
        store.order()
        lines = (LineQuantity("8", 2),)
        carry_out(store, refund(amount=eur(3000), lines=lines, is_whole=False, takes_out=True))
        store.shop.restock(restock(lines=lines))
        store.shop.cancel_order(cancel())
        step = mint_step_key(CASE, "restock", 2)
        command = restock(step_key=step, key=wire_key(step, 1), lines=(LineQuantity("9", 1),))
        said = store.shop.restock(command)
        assert isinstance(said, Permanent)
        assert said.code == "restock_unproven"

    def test_units_that_were_never_taken_are_not_added(self, store: Store) -> None:
        store.seed(inventory={"update_stock_behavior": "order_completed_or_shipped"})
        store.order()
        store.shop.cancel_order(cancel())
        assert isinstance(store.shop.restock(restock()), AlreadyDone)
        assert store.restocked() == {}

    def test_the_channels_own_setting_counts(self, store: Store) -> None:
        store.seed(channels={"2": {"refund_order_stock_adjustment": False}})
        store.order(channel_id=2)
        store.shop.cancel_order(cancel())
        assert isinstance(store.shop.restock(restock()), Done)
        assert store.restocked() == {"POSTER": 2, "FRAME": 1}

    def test_what_has_no_stock_needs_none_back(self, store: Store) -> None:
        store.order(lines=[{"id": 8, "unit_minor": 1500, "type": "digital"}], shipping_minor=0)
        store.shop.cancel_order(cancel())
        assert isinstance(store.shop.restock(restock(lines=(LineQuantity("8", 1),))), Done)
        assert store.restocked() == {}

    def test_several_locations_need_to_be_told_which(self, store: Store) -> None:
        store.seed(
            inventory={"refund_order_stock_adjustment": False}, locations=[{"id": 2, "name": "Cellar"}]
        )
        store.order()
        store.shop.cancel_order(cancel())
        said = store.shop.restock(restock())
        assert isinstance(said, Permanent)
        assert said.code == "no_location"
        assert isinstance(store.shop.restock(restock(location="2")), Done)
        assert {line["target"]["location"] for line in store.book("restock")} == {"2"}


class TestTold:
    def test_deliveries_are_verified_and_read(self, store: Store) -> None:
        store.order()
        vendor: Any = store.world.vendor(NAME)
        inbound = CREDENTIALS.inbound

        def told(topic: str, object_id: str) -> Any:
            event = vendor.event_for(topic, object_id)
            signed = vendor.sign(event, "https://shop.example/hook", practice.CLIENT_SECRET)
            headers = {name.lower(): value for name, value in signed.headers.items()}
            verified = inbound.verify(Delivery(headers, signed.body), store.now)
            assert verified == Verified(f"{event.body['hash']}:{topic}:1001", topic)
            late = inbound.verify(Delivery(headers, signed.body), store.now + timedelta(minutes=6))
            assert isinstance(late, Refused)
            return inbound.read_event(topic, signed.body)

        ref = OrderRef(NAME, "1001", "1001")
        store.settle(order=1001, status_id=5)
        assert told("store/order/statusUpdated", "1001") == OrderCancelledElsewhere(ref)
        store.settle(order=1001, status_id=13)
        assert isinstance(told("store/order/statusUpdated", "1001"), DisputeSeen)
        store.settle(order=1001, panel_refund={})
        assert told("store/order/refund/created", "1001") == PaymentRefundsChanged(NAME, "1001", ref)
        assert store.payment("1001").refunded == 5250

    def test_polling_brings_what_a_delivery_would_have_told(self, store: Store) -> None:
        store.order()
        store.settle(order=1001, status_id=5)
        first = store.shop.poll("", store.now)
        assert isinstance(first, Polled)
        [event] = first.events
        assert CREDENTIALS.inbound.read_event(event.topic, event.body) == OrderCancelledElsewhere(
            OrderRef(NAME, "1001", "1001")
        )
        store.now += timedelta(minutes=30)
        again = store.shop.poll(first.cursor, store.now)
        assert isinstance(again, Polled)
        assert (again.events, again.cursor, again.has_more) == ((event,), first.cursor, False)

    def test_pages_are_followed_to_the_end(self, store: Store) -> None:
        store.seed(
            orders=[
                {"id": n, "status_id": 5, "lines": [{"sku": "X", "unit_minor": 1}]} for n in range(1, 301)
            ]
        )
        first = store.shop.poll("", store.now)
        assert isinstance(first, Polled)
        assert (len(first.events), first.has_more) == (250, True)
        second = store.shop.poll(first.cursor, store.now)
        assert isinstance(second, Polled)
        assert (len(second.events), second.has_more) == (50, False)
        assert len({e.source_event_id for e in (*first.events, *second.events)}) == 300

    def test_a_quota_that_is_used_up_says_when_to_come_again(self, store: Store) -> None:
        store.order()
        store.seed(habits={"quota": 0})
        store.now += timedelta(seconds=31)
        said = store.shop.read_order(OrderRef(NAME, "1001"))
        assert isinstance(said, Retryable)
        assert (said.code, said.after_s) == ("throttled", 30.0)

    def test_the_check_says_whether_the_token_is_good(self, store: Store) -> None:
        assert store.shop.check().is_ok
        store.order()
        assert store.shop.check().is_ok
        store.fault(Kind.REFUSE_AUTH, "list_orders")
        assert not store.shop.check().is_ok
