"""WooCommerce's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Polled
from refundflow.connectors.woocommerce import (
    RECORD_SETTLED_S,
    Credentials,
    WooCommerce,
    WooCommerceInbound,
    build,
)
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef, PaymentFacts, PaymentState
from refundflow.domain.ids import CaseId, StepKey, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    Irrelevant,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind, settle_look
from refundflow.sandbox import woocommerce as double
from refundflow.sandbox.base import Fault, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError
from tests.support.world_http import WorldWire

NAME = "woocommerce"
CASE = "RF-00K3ZQ4M7ABCDEF"
HOOK = "https://refundflow.example/hooks/woocommerce"
HOOK_SECRET = "wc-practice-secret"
# 2 × 15.00 and 3 for 10.00 without tax, 5.70 and 1.90 tax, shipping 4.90 with 0.93 tax: 53.43 EUR.
ORDER: Record = {
    "id": 723,
    "number": "WC-1042",
    "email": "ada@example.com",
    "shipping_minor": 490,
    "shipping_tax_minor": 93,
    "lines": [
        {
            "id": 315,
            "sku": "MUG",
            "product_id": 93,
            "quantity": 2,
            "unit_minor": 1500,
            "tax_minor": 570,
            "stock": 8,
        },
        {
            "id": 316,
            "sku": "PEN",
            "product_id": 94,
            "quantity": 3,
            "unit_minor": 334,
            "discount_minor": 2,
            "tax_minor": 190,
            "stock": 5,
        },
    ],
    "payments": [{"gateway": "stripe", "transaction_id": "ch_1"}],
}
TOTAL = Money(5343, "EUR")
EVERYTHING = (LineQuantity("315", 2), LineQuantity("316", 3))
STEP = StepKey(f"{CASE}.refund.1")
CANCEL_STEP = StepKey(f"{CASE}.cancel_order.1")
RECORD_STEP = StepKey(f"{CASE}.post_ledger.1")

CANCEL = CancelOrder(
    step_key=CANCEL_STEP, key=wire_key(CANCEL_STEP, 1), order_id="723", reason="customer", restock=True
)
REFUND = Refund(
    step_key=STEP,
    key=wire_key(STEP, 1),
    order_id="723",
    order_number="WC-1042",
    payment_reference="723",
    gateway="stripe",
    amount=TOTAL,
    lines=EVERYTHING,
    is_whole=True,
)
RECORD = RecordOrderRefund(
    step_key=RECORD_STEP,
    key=wire_key(RECORD_STEP, 1),
    order_id="723",
    order_number="WC-1042",
    amount=TOTAL,
    refund_references="re_3Practice",
    lines=EVERYTHING,
    is_whole=True,
)
RESTOCK = Restock(
    step_key=StepKey(f"{CASE}.restock.1"),
    key="k",
    order_id="723",
    currency="EUR",
    lines=EVERYTHING,
    carried_by=CANCEL_STEP,
)


class Shop:
    """A practice WooCommerce, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.world = World([double.WooCommerce], clock=lambda: self.now, send=self.take)
        self.woo: WooCommerce = build(self.credentials(), WorldWire(self.world))

    def credentials(self, secret: str = double.CONSUMER_SECRET) -> Credentials:
        return Credentials(f"https://vendors.example/{NAME}", double.CONSUMER_KEY, Secret(secret))

    def take(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.deliveries.put(Delivery({name.lower(): value for name, value in headers.items()}, body))
        return 200

    def order(self, *, settings: Record | None = None, **more: Any) -> Record:
        described = {"settings": settings or {}, "orders": [{**ORDER, **more}]}
        made: Record = self.world.seed({NAME: described})[NAME]["orders"][0]
        return made

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fail(self, kind: Kind, operation: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def book(self, *effects: str) -> list[tuple[str, int]]:
        """Effect and amount (or units) of the lines of these effects, in order."""
        lines = self.world.vendor(NAME).book.lines()
        return [
            (line["effect"], line["amount_minor"] or line.get("quantity", 0))
            for line in lines
            if line["effect"] in effects
        ]

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.world.vendor(NAME).book.lines()]

    @property
    def status(self) -> str:
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.WooCommerce)
        return vendor.orders[723].status

    def stock(self) -> dict[str, int | None]:
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.WooCommerce)
        return {product.sku: product.stock for product in vendor.products.values()}

    def facts(self) -> OrderFacts:
        found = self.woo.read_order(OrderRef(NAME, "723"))
        assert isinstance(found, OrderFacts)
        return found

    def payment(self) -> PaymentFacts:
        found = self.woo.read_payment("723", "723")
        assert isinstance(found, PaymentFacts)
        return found


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.world.close()


def settled(found: Any, *, after_s: float, command: Any = REFUND) -> Any:
    """What the flow makes of a look so long after the send."""
    sent_at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    step = Step(
        step_key=command.step_key,
        case_id=CaseId(CASE),
        number=0,
        kind=StepKind.REFUND,
        action="refund",
        platform=NAME,
        command=command,
        state=StepState.UNKNOWN,
        sent_at=sent_at,
        may_have_happened=True,
    )
    return settle_look(found, step, sent_at + timedelta(seconds=after_s))


class TestReading:
    def test_an_order_its_payment_and_what_its_units_are_worth(self, shop: Shop) -> None:
        shop.order()
        facts = shop.facts()
        assert (facts.number, facts.total, facts.email) == ("WC-1042", TOTAL, "ada@example.com")
        assert [(x.line_id, x.sku, x.quantity, x.unfulfilled) for x in facts.lines] == [
            ("315", "MUG", 2, 2),
            ("316", "PEN", 3, 3),
        ]
        assert [(p.gateway, p.provider_reference, p.is_captured) for p in facts.payments] == [
            ("stripe", "ch_1", True)
        ]
        assert shop.woo.quote_lines(facts, (LineQuantity("316", 1),)) == Money(333 + 63, "EUR")
        assert shop.woo.quote_lines(facts, EVERYTHING) == Money(3570 + 1190, "EUR")
        assert shop.payment().captured == TOTAL

    def test_by_number_as_people_say_it(self, shop: Shop) -> None:
        shop.order()
        shop.order(id=724, number="WC-10421", lines=[{**ORDER["lines"][0], "id": 415}])
        for number in ("WC-1042", "#WC-1042"):
            found = shop.woo.read_order(OrderRef(NAME, number=number))
            assert isinstance(found, OrderFacts)
            assert found.order_id == "723"
        assert isinstance(shop.woo.read_order(OrderRef(NAME, number="1042")), NotFound)
        assert isinstance(shop.woo.read_order(OrderRef(NAME, "999")), NotFound)

    def test_a_shipped_order_and_one_that_is_only_authorised(self, shop: Shop) -> None:
        shop.order(status="completed")
        assert shop.facts().is_fulfilled
        shop.world.reset()
        shop.order(payments=[{"status": "authorised", "transaction_id": "ch_1"}])
        assert [p.is_captured for p in shop.facts().payments] == [False]
        assert shop.payment().state is PaymentState.AUTHORISED
        shop.world.reset()
        shop.order(payments=[])
        assert shop.facts().payments == ()
        assert shop.payment().state is PaymentState.NOT_PAID

    @pytest.mark.parametrize(("currency", "total"), [("JPY", 5343), ("KWD", 5343)])
    def test_currencies_without_two_decimals(self, shop: Shop, currency: str, total: int) -> None:
        shop.order(currency=currency)
        assert shop.facts().total == Money(total, currency)
        amount = Money(total, currency)
        assert isinstance(shop.woo.refund(replace(REFUND, amount=amount)), Done)
        assert shop.book("refund") == [("refund", total)]

    def test_check(self, shop: Shop) -> None:
        assert shop.woo.check().is_ok
        wrong = build(shop.credentials("cs_wrong"), WorldWire(shop.world))
        assert not wrong.check().is_ok
        assert "CONSUMER_KEY" in wrong.check().detail

    def test_plain_permalinks_and_a_host_that_drops_the_key_are_told(self, shop: Shop) -> None:
        shop.order(settings={"has_permalinks": False})
        assert "permalinks" in shop.woo.check().detail
        shop.world.reset()
        shop.order(settings={"strips_authorization": True})
        assert "Authorization" in shop.woo.check().detail


class TestCancel:
    def test_one_cancel_puts_the_stock_back_once_and_returns_no_money(self, shop: Shop) -> None:
        shop.order()
        assert shop.woo.cancel_order(CANCEL) == Done("723")
        assert shop.effects == ["cancel_order", "restock", "restock"]
        assert shop.stock() == {"MUG": 10, "PEN": 8}
        assert isinstance(shop.woo.restock(RESTOCK), Done)
        assert shop.facts().cancelled_at is not None

    def test_a_repeat_changes_nothing(self, shop: Shop) -> None:
        shop.order()
        shop.woo.cancel_order(CANCEL)
        assert isinstance(shop.woo.cancel_order(CANCEL), AlreadyDone)
        assert isinstance(shop.woo.find_cancel_order(CANCEL), Done)
        assert shop.book("cancel_order", "restock") == [("cancel_order", 0), ("restock", 2), ("restock", 3)]

    def test_a_lost_reply_is_found(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REPLY, "update_order")
        with pytest.raises(MaybeSentError):
            shop.woo.cancel_order(CANCEL)
        assert isinstance(shop.woo.find_cancel_order(CANCEL), Done)
        assert shop.effects.count("cancel_order") == 1

    def test_a_lost_request_is_proved_absent_and_sent_again(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REQUEST, "update_order")
        with pytest.raises(MaybeSentError):
            shop.woo.cancel_order(CANCEL)
        found = shop.woo.find_cancel_order(CANCEL)
        assert isinstance(settled(found, after_s=61, command=CANCEL), Retryable)
        assert shop.woo.cancel_order(CANCEL) == Done("723")
        assert shop.effects.count("cancel_order") == 1

    @pytest.mark.parametrize("status", [500, 502])
    def test_an_answer_that_lies_about_the_act_is_looked_up(self, shop: Shop, status: int) -> None:
        shop.order()
        shop.fail(Kind.STATUS, "update_order", status=status, is_after_effect=True)
        assert isinstance(shop.woo.cancel_order(CANCEL), Unknown)
        assert isinstance(shop.woo.find_cancel_order(CANCEL), Done)

    def test_somebody_elses_cancel_is_told_as_such(self, shop: Shop) -> None:
        shop.order()
        shop.settle(order=723, status="cancelled")
        assert isinstance(shop.woo.cancel_order(CANCEL), AlreadyDone)
        assert isinstance(shop.woo.find_cancel_order(CANCEL), AlreadyDone)
        assert shop.effects.count("cancel_order") == 1

    def test_what_was_shipped_is_left_alone(self, shop: Shop) -> None:
        shop.order(status="completed")
        said = shop.woo.cancel_order(CANCEL)
        assert isinstance(said, Permanent)
        assert said.code == "shipped"
        assert shop.effects == []

    def test_stock_of_another_owner_is_left_alone(self, shop: Shop) -> None:
        shop.order()
        said = shop.woo.cancel_order(replace(CANCEL, restock=False))
        assert isinstance(said, Permanent)
        assert said.code == "restocks_itself"
        assert shop.effects == []

    def test_articles_that_the_shop_does_not_count_are_cancelled_for_another_owner(self, shop: Shop) -> None:
        lines = [{"id": 315, "sku": "MUG", "quantity": 2, "unit_minor": 1500, "manages_stock": False}]
        shop.order(lines=lines)
        assert shop.woo.cancel_order(replace(CANCEL, restock=False)) == Done("723")
        assert shop.effects == ["cancel_order"]

    def test_a_cancel_lets_go_of_what_was_only_authorised(self, shop: Shop) -> None:
        shop.order(payments=[{"status": "authorised", "transaction_id": "ch_1"}])
        assert shop.facts().releases_authorisations
        shop.woo.cancel_order(CANCEL)
        assert shop.book("void", "refund") == [("void", 5343)]

    def test_a_plugin_that_forbids_the_restock_is_noticed(self, shop: Shop) -> None:
        shop.order(settings={"restores_stock": False})
        shop.woo.cancel_order(CANCEL)
        said = shop.woo.restock(RESTOCK)
        assert isinstance(said, Permanent)
        assert said.code == "not_restocked"

    def test_an_order_that_a_person_opened_again_is_not_cancelled_behind_their_back(self, shop: Shop) -> None:
        shop.order()
        shop.woo.cancel_order(CANCEL)
        shop.settle(order=723, status="processing")
        for said in (shop.woo.find_cancel_order(CANCEL), shop.woo.cancel_order(CANCEL)):
            assert isinstance(said, Permanent)
            assert said.code == "reopened"
        assert shop.woo.cancel_order(replace(CANCEL, key=wire_key(CANCEL_STEP, 2))) == Done("723")


class TestRefund:
    def test_the_gateway_pays_once_and_the_record_adds_up(self, shop: Shop) -> None:
        shop.order()
        said = shop.woo.refund(REFUND)
        assert isinstance(said, Done)
        assert shop.book("refund", "record_refund", "restock") == [("refund", 5343)]
        assert shop.status == "refunded"
        assert shop.stock() == {"MUG": 8, "PEN": 5}
        [fact] = shop.payment().refunds
        assert (fact.amount, fact.step_key, fact.reference) == (TOTAL, STEP, said.reference)
        vendor = shop.world.vendor(NAME)
        assert isinstance(vendor, double.WooCommerce)
        [made] = vendor.orders[723].refunds
        assert sum(x.total + sum(x.taxes.values()) for x in made.items) == 5343

    def test_a_cancel_and_then_the_refund_of_the_whole(self, shop: Shop) -> None:
        shop.order()
        assert isinstance(shop.woo.cancel_order(CANCEL), Done)
        assert isinstance(shop.woo.refund(REFUND), Done)
        assert shop.book("cancel_order", "restock", "refund") == [
            ("cancel_order", 0),
            ("restock", 2),
            ("restock", 3),
            ("refund", 5343),
        ]
        # The full refund has moved the order on to `refunded`: cancel and restock are still proved.
        assert shop.status == "refunded"
        assert isinstance(shop.woo.find_cancel_order(CANCEL), Done)
        assert isinstance(shop.woo.find_restock(RESTOCK), Done)
        assert shop.facts().cancelled_at is not None

    def test_a_repeat_pays_nothing(self, shop: Shop) -> None:
        shop.order()
        first = shop.woo.refund(replace(REFUND, amount=Money(2000, "EUR"), lines=()))
        assert shop.woo.refund(replace(REFUND, amount=Money(2000, "EUR"), lines=())) == first
        assert shop.book("refund") == [("refund", 2000)]

    def test_a_lost_reply_is_found(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REPLY, "create_refund")
        with pytest.raises(MaybeSentError):
            shop.woo.refund(REFUND)
        assert isinstance(shop.woo.find_refund(REFUND), Done)
        assert isinstance(shop.woo.refund(REFUND), Done)
        assert shop.book("refund") == [("refund", 5343)]

    @pytest.mark.parametrize("status", [500, 502, 504])
    def test_an_answer_that_lies_about_the_act_is_looked_up(self, shop: Shop, status: int) -> None:
        shop.order()
        shop.fail(Kind.STATUS, "create_refund", status=status, is_after_effect=True)
        assert isinstance(shop.woo.refund(REFUND), Unknown)
        assert isinstance(shop.woo.find_refund(REFUND), Done)
        assert shop.book("refund") == [("refund", 5343)]

    def test_meta_that_was_never_saved_is_no_loss(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REPLY, "create_refund", code="no_meta")
        with pytest.raises(MaybeSentError):
            shop.woo.refund(REFUND)
        assert isinstance(shop.woo.find_refund(REFUND), Done)
        assert isinstance(shop.woo.refund(REFUND), Done)
        assert shop.book("refund") == [("refund", 5343)]

    def test_a_record_without_money_is_never_a_yes(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.STATUS, "create_refund", status=500, is_after_effect=True, code="record_only")
        assert isinstance(shop.woo.refund(REFUND), Unknown)
        for said in (shop.woo.find_refund(REFUND), shop.woo.refund(REFUND)):
            assert isinstance(said, Unknown)
            assert "gateway" in said.reason
        assert shop.book("refund") == []

    def test_money_without_a_record_is_not_sent_again(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.STATUS, "create_refund", status=500, is_after_effect=True, code="money_only")
        assert isinstance(shop.woo.refund(REFUND), Unknown)
        found = shop.woo.find_refund(REFUND)
        for after_s in (1, 301, 86_400):
            judged = settled(found, after_s=after_s)
            assert isinstance(judged, Permanent)
            assert judged.code == "unknowable"
        assert shop.book("refund") == [("refund", 5343)]

    @pytest.mark.parametrize("answers_500", [True, False])
    def test_a_gateway_that_declines_is_for_a_person_and_leaves_no_record(
        self, shop: Shop, answers_500: bool
    ) -> None:
        shop.order(settings={"answers_500": answers_500}, payments=[{"declines": True}])
        assert isinstance(shop.woo.refund(REFUND), Unknown)
        assert isinstance(settled(shop.woo.find_refund(REFUND), after_s=5), Permanent)
        assert shop.effects == []

    def test_what_others_gave_back_is_not_given_again(self, shop: Shop) -> None:
        shop.order()
        shop.settle(order=723, admin_refund={"amount_minor": 4000, "api_refund": True})
        said = shop.woo.refund(REFUND)
        assert isinstance(said, Permanent)
        assert said.code == "refunded_elsewhere"
        assert shop.payment().refunded_elsewhere == 4000
        assert shop.book("refund") == [("refund", 4000)]

    def test_a_refund_by_hand_counts_as_given_back(self, shop: Shop) -> None:
        shop.order()
        shop.settle(order=723, admin_refund={"amount_minor": 4000})
        assert shop.payment().refunded == 4000

    def test_others_are_told_in_the_moment_too(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.REFUSE, "create_refund", code="amount")
        said = shop.woo.refund(REFUND)
        assert isinstance(said, Permanent)
        assert said.code == "refunded_elsewhere"
        assert shop.effects == []

    def test_a_cheque_is_not_even_asked(self, shop: Shop) -> None:
        shop.order(payments=[{"gateway": "cheque"}])
        assert shop.payment().refund_refusal
        said = shop.woo.refund(REFUND)
        assert isinstance(said, Permanent)
        assert said.code == "no_automatic_refunds"
        assert "create_refund" not in [call["operation"] for call in shop.world.calls]

    def test_a_key_that_may_only_read_does_nothing(self, shop: Shop) -> None:
        shop.order()
        credentials = Credentials(
            f"https://vendors.example/{NAME}", double.READ_KEY, Secret(double.READ_SECRET)
        )
        reader = build(credentials, WorldWire(shop.world))
        said = reader.refund(REFUND)
        assert isinstance(said, Retryable)
        assert said.code == "unauthorised"
        assert shop.effects == []

    def test_units_taken_out_by_the_refund_are_gone_and_back_on_the_shelf(self, shop: Shop) -> None:
        shop.order()
        lines = (LineQuantity("316", 1),)
        quoted = shop.woo.quote_lines(shop.facts(), lines)
        assert isinstance(quoted, Money)
        command = replace(REFUND, amount=quoted, lines=lines, takes_out=True, restock=True, is_whole=False)
        assert isinstance(shop.woo.refund(command), Done)
        assert shop.book("refund", "restock") == [("refund", 396), ("restock", 1)]
        assert [(x.line_id, x.quantity) for x in shop.facts().lines] == [("315", 2), ("316", 2)]
        proof = replace(RESTOCK, lines=lines, carried_by=STEP)
        assert isinstance(shop.woo.restock(proof), Done)
        assert isinstance(shop.woo.find_restock(proof), Done)

    def test_after_units_by_refund_the_cancel_puts_back_the_rest_only(self, shop: Shop) -> None:
        shop.order()
        lines = (LineQuantity("316", 1),)
        part = replace(
            REFUND, amount=Money(396, "EUR"), lines=lines, takes_out=True, restock=True, is_whole=False
        )
        shop.woo.refund(part)
        shop.woo.cancel_order(CANCEL)
        rest_step = StepKey(f"{CASE}.refund.2")
        rest = replace(
            REFUND,
            step_key=rest_step,
            key=wire_key(rest_step, 1),
            amount=Money(5343 - 396, "EUR"),
            lines=(LineQuantity("315", 2), LineQuantity("316", 2)),
        )
        assert isinstance(shop.woo.refund(rest), Done)
        assert shop.stock() == {"MUG": 10, "PEN": 8}
        assert shop.book("refund") == [("refund", 396), ("refund", 4947)]
        assert {r.step_key: r.amount.minor for r in shop.payment().refunds} == {STEP: 396, rest_step: 4947}
        assert all(line.quantity == 0 for line in shop.facts().lines)

    def test_a_refund_that_takes_nothing_out_leaves_the_stock(self, shop: Shop) -> None:
        shop.order()
        shop.woo.refund(replace(REFUND, restock=True))
        assert shop.book("restock") == []

    def test_more_than_a_page_of_refunds_is_read_to_the_end(self, shop: Shop) -> None:
        made = [{"amount_minor": 1, "reason": "hand"} for _ in range(130)]
        ours = {"amount_minor": 100, "api_refund": True, "meta": {"_refundflow_op": STEP}}
        shop.order(refunds=[ours, *made])
        said = shop.woo.find_refund(replace(REFUND, amount=Money(100, "EUR")))
        assert isinstance(said, Done)
        assert len(shop.payment().refunds) == 131

    def test_a_gateway_that_takes_it_back_later_is_not_told_to_the_shop(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LATE_FAILURE, "create_refund")
        assert isinstance(shop.woo.refund(REFUND), Done)
        shop.world.settle(NAME, {})
        assert shop.book("refund", "refund_failed") == [("refund", 5343), ("refund_failed", 5343)]
        assert isinstance(shop.woo.find_refund(REFUND), Done)


class TestRecord:
    def test_it_is_written_once_and_moves_no_money(self, shop: Shop) -> None:
        shop.order()
        shop.woo.cancel_order(CANCEL)
        first = shop.woo.record_order_refund(RECORD)
        assert isinstance(first, Done)
        assert shop.woo.record_order_refund(RECORD) == first
        assert shop.woo.find_record_order_refund(RECORD) == first
        assert shop.book("refund", "record_refund") == [("record_refund", 5343)]
        assert shop.stock() == {"MUG": 10, "PEN": 8}

    def test_a_lost_reply_is_found(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REPLY, "create_refund", code="no_meta")
        with pytest.raises(MaybeSentError):
            shop.woo.record_order_refund(RECORD)
        assert isinstance(shop.woo.find_record_order_refund(RECORD), Done)
        assert isinstance(shop.woo.record_order_refund(RECORD), Done)
        assert shop.book("refund", "record_refund") == [("record_refund", 5343)]

    def test_a_lost_request_is_proved_absent_and_sent_again(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REQUEST, "create_refund")
        with pytest.raises(MaybeSentError):
            shop.woo.record_order_refund(RECORD)
        found = shop.woo.find_record_order_refund(RECORD)
        assert isinstance(settled(found, after_s=RECORD_SETTLED_S - 1, command=RECORD), NotFound)
        assert isinstance(settled(found, after_s=RECORD_SETTLED_S + 1, command=RECORD), Retryable)
        assert isinstance(shop.woo.record_order_refund(RECORD), Done)
        assert shop.book("refund", "record_refund") == [("record_refund", 5343)]

    def test_a_record_that_takes_units_out_puts_them_back_once(self, shop: Shop) -> None:
        shop.order()
        command = replace(
            RECORD,
            amount=Money(1785, "EUR"),
            lines=(LineQuantity("315", 1),),
            takes_out=True,
            restock=True,
            is_whole=False,
        )
        shop.fail(Kind.LOST_REPLY, "create_refund")
        with pytest.raises(MaybeSentError):
            shop.woo.record_order_refund(command)
        assert isinstance(shop.woo.record_order_refund(command), Done)
        assert shop.book("record_refund", "restock") == [("record_refund", 1785), ("restock", 1)]
        proof = replace(RESTOCK, lines=command.lines, carried_by=RECORD_STEP)
        assert isinstance(shop.woo.restock(proof), Done)

    def test_a_full_record_does_not_let_go_of_an_authorisation(self, shop: Shop) -> None:
        shop.order(payments=[{"status": "authorised", "transaction_id": "ch_1"}])
        said = shop.woo.record_order_refund(RECORD)
        assert isinstance(said, Permanent)
        assert said.code == "would_release"
        assert shop.effects == []

    def test_what_a_plugin_wrote_down_is_not_written_twice(self, shop: Shop) -> None:
        shop.order()
        shop.settle(order=723, admin_refund={"amount_minor": 2000, "reason": "Stripe refund re_3Practice"})
        command = replace(RECORD, amount=Money(2000, "EUR"), lines=())
        assert isinstance(shop.woo.record_order_refund(command), AlreadyDone)
        assert shop.book("record_refund") == [("record_refund", 2000)]

    def test_what_others_wrote_down_goes_to_a_person(self, shop: Shop) -> None:
        shop.order()
        shop.settle(order=723, admin_refund={"amount_minor": 2000})
        said = shop.woo.record_order_refund(RECORD)
        assert isinstance(said, Permanent)
        assert said.code == "recorded_elsewhere"


class TestRestock:
    def test_without_a_carrier_nothing_is_sent(self, shop: Shop) -> None:
        shop.order()
        assert isinstance(shop.woo.restock(replace(RESTOCK, carried_by="")), Permanent)
        assert isinstance(shop.woo.restock(RESTOCK), Permanent)
        assert isinstance(shop.woo.find_restock(RESTOCK), NotFound)
        assert shop.effects == []


class TestTroubleBeforeTheWrite:
    def test_a_lost_answer_to_the_look_sends_nothing(self, shop: Shop) -> None:
        shop.order()
        for operation in ("get_order", "list_refunds"):
            shop.fail(Kind.LOST_REPLY, operation)
            said = shop.woo.refund(REFUND)
            assert isinstance(said, Retryable)
            assert said.code == "not_sent"
        assert shop.effects == []

    def test_a_lost_answer_to_a_look_of_its_own_passes_through(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.LOST_REPLY, "list_refunds")
        with pytest.raises((MaybeSentError, NotSentError)):
            shop.woo.find_refund(REFUND)

    def test_a_maintenance_page_is_no_word(self, shop: Shop) -> None:
        shop.order()
        shop.fail(Kind.HTML, "get_order", status=200)
        assert isinstance(shop.woo.refund(REFUND), Retryable)
        shop.fail(Kind.HTML, "create_refund", status=200, is_after_effect=True)
        assert isinstance(shop.woo.refund(REFUND), Unknown)
        assert isinstance(shop.woo.find_refund(REFUND), Done)
        assert shop.book("refund") == [("refund", 5343)]


class TestNews:
    INBOUND = WooCommerceInbound(Secret(f"older, {HOOK_SECRET}"))

    def test_the_ping_of_a_new_webhook_is_greeted(self, shop: Shop) -> None:
        shop.world.seed(
            {NAME: {"webhooks": [{"topic": "order.updated", "delivery_url": HOOK, "secret": "x"}]}}
        )
        vendor = shop.world.vendor(NAME)
        assert isinstance(vendor, double.WooCommerce)
        vendor._ping(next(iter(vendor.webhooks)))
        assert isinstance(self.INBOUND.verify(shop.deliveries.get(timeout=5), shop.now), Greeting)

    def test_a_cancel_is_told_by_delivery_and_by_polling_as_one_event(self, shop: Shop) -> None:
        shop.order()
        shop.world.webhooks.subscribe(NAME, Subscription(HOOK, HOOK_SECRET, topics=("order.updated",)))
        shop.now += timedelta(minutes=1)
        shop.settle(order=723, status="cancelled")
        delivery = shop.deliveries.get(timeout=5)
        verified = self.INBOUND.verify(delivery, shop.now)
        assert isinstance(verified, Verified)
        polled = shop.woo.poll("", shop.now)
        assert isinstance(polled, Polled)
        assert [e.source_event_id for e in polled.events] == [verified.source_event_id]
        for topic, body in ((verified.topic, delivery.body), (polled.events[0].topic, polled.events[0].body)):
            assert self.INBOUND.read_event(topic, body) == OrderCancelledElsewhere(
                OrderRef(NAME, "723", "WC-1042")
            )
        assert isinstance(WooCommerceInbound(Secret("older")).verify(delivery, shop.now), Refused)

    def test_a_refund_in_the_shop_is_news_of_its_payment(self, shop: Shop) -> None:
        shop.order()
        shop.world.webhooks.subscribe(NAME, Subscription(HOOK, HOOK_SECRET, topics=("order.updated",)))
        shop.settle(order=723, admin_refund={"amount_minor": 1000})
        delivery = shop.deliveries.get(timeout=5)
        verified = self.INBOUND.verify(delivery, shop.now)
        assert isinstance(verified, Verified)
        assert self.INBOUND.read_event(verified.topic, delivery.body) == PaymentRefundsChanged(
            NAME, "723", OrderRef(NAME, "723", "WC-1042")
        )

    def test_an_order_that_only_moves_on_is_no_news(self, shop: Shop) -> None:
        shop.order()
        shop.world.webhooks.subscribe(NAME, Subscription(HOOK, HOOK_SECRET, topics=("order.updated",)))
        shop.settle(order=723, status="on-hold")
        delivery = shop.deliveries.get(timeout=5)
        assert isinstance(self.INBOUND.read_event("order.updated", delivery.body), Irrelevant)
        polled = shop.woo.poll("", shop.now)
        assert isinstance(polled, Polled)
        assert polled.events == ()

    @pytest.mark.parametrize("utc_offset_h", [-8, 0, 2])
    def test_windows_overlap_and_miss_nothing_whatever_the_shops_own_time(
        self, shop: Shop, utc_offset_h: int
    ) -> None:
        shop.order(settings={"utc_offset_h": utc_offset_h})
        first = shop.woo.poll("", shop.now)
        assert isinstance(first, Polled)
        assert first.events == ()
        shop.now += timedelta(minutes=5)
        shop.settle(order=723, status="cancelled")
        shop.now += timedelta(minutes=5)
        second = shop.woo.poll(first.cursor, shop.now)
        assert isinstance(second, Polled)
        third = shop.woo.poll(second.cursor, shop.now + timedelta(minutes=1))
        assert isinstance(third, Polled)
        assert [e.source_event_id for e in second.events] == [e.source_event_id for e in third.events]
        last = shop.woo.poll(third.cursor, shop.now + timedelta(hours=1))
        later = (
            shop.woo.poll(last.cursor, shop.now + timedelta(hours=2)) if isinstance(last, Polled) else last
        )
        assert isinstance(later, Polled)
        assert later.events == ()

    def test_many_orders_come_page_by_page(self, shop: Shop) -> None:
        one = {"sku": "MUG", "quantity": 1, "unit_minor": 100}
        orders = [
            {"status": "cancelled", "lines": [one], "modified": shop.now.isoformat()} for _ in range(230)
        ]
        shop.world.seed({NAME: {"orders": orders}})
        cursor, seen, looks = "", set(), 0
        while True:
            polled = shop.woo.poll(cursor, shop.now)
            assert isinstance(polled, Polled)
            seen |= {e.source_event_id for e in polled.events}
            cursor, looks = polled.cursor, looks + 1
            if not polled.has_more:
                break
        assert (len(seen), looks) == (230, 3)
