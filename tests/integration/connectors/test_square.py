"""Square's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.square import (
    Credentials,
    Shelf,
    Square,
    SquareInbound,
    build,
    refund_request,
    restock_request,
)
from refundflow.domain.commands import CancelOrder, Refund, Restock, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundStatus,
    TakesBack,
    Tender,
)
from refundflow.domain.ids import StepKey, mint_case_id, mint_step_key, wire_key
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
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.sandbox import square as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request, Response
from tests.support.world_http import VENDORS, WorldWire

NAME = "square"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
MUGS = {"uid": "LI1", "sku": "MUG", "title": "Mug", "quantity": 2, "unit_minor": 1500, "stock": 10}
PLATE = {"uid": "LI2", "sku": "PLATE", "title": "Plate", "quantity": 1, "unit_minor": 1190, "stock": 5}
TOTAL = 4190
UNITS = (LineQuantity("LI1", 2), LineQuantity("LI2", 1))


def usd(minor: int) -> Money:
    return Money(minor, "USD")


class Shop:
    """A practice Square, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.deliveries: list[tuple[str, Delivery]] = []
        self.world = World([double.Square], clock=lambda: self.now, send=self.take)
        self.square: Square = build(
            Credentials(
                access_token=Secret(double.ACCESS_TOKEN),
                location_ids=double.LOCATION,
                base_url=f"{VENDORS}/{NAME}",
            ),
            WorldWire(self.world),
            lambda: self.now,
        )

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((url, Delivery({n.lower(): v for n, v in headers.items()}, body)))
        return 200

    def order(self, *, number: str = "1042", **more: Any) -> Record:
        settings = more.pop("settings", {})
        described = {"id": f"O{number}", "lines": [MUGS, PLATE], "email": "ada@customers.example", **more}
        seed = {"settings": settings, "orders": [{"number": number, **described}]}
        made: Record = self.world.seed({NAME: seed})[NAME]["orders"][0]
        return made

    def paid(self, **more: Any) -> Record:
        return self.order(**{"payments": [{"id": "P1"}], **more})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, operation: str, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def book(self, effect: str) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.world.vendor(NAME).book.lines()]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def stock(self, sku: str) -> int:
        return int(self.settle(stock=sku)["stock"])

    def facts(self, order: Record) -> OrderFacts:
        found = self.square.read_order(OrderRef(NAME, order["id"]))
        assert isinstance(found, OrderFacts), found
        return found

    def payment(self, reference: str = "P1") -> PaymentFacts:
        found = self.square.read_payment("", reference)
        assert isinstance(found, PaymentFacts), found
        return found


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def keys(kind: str, number: int = 1, attempt: int = 1) -> dict[str, Any]:
    step_key: StepKey = mint_step_key(CASE, kind, number)
    return {"step_key": step_key, "key": wire_key(step_key, attempt)}


def cancel(order: Record, **changes: Any) -> CancelOrder:
    return CancelOrder(
        **{**keys("cancel_order"), "order_id": order["id"], "reason": "customer", "restock": False, **changes}
    )


def pay_back(order: Record, minor: int = TOTAL, **changes: Any) -> Refund:
    return Refund(
        **{
            **keys("refund"),
            "order_id": order["id"],
            "order_number": "1042",
            "payment_reference": "P1",
            "gateway": "square",
            "amount": usd(minor),
            **changes,
        }
    )


def put_back(order: Record, lines: tuple[LineQuantity, ...] = UNITS, **changes: Any) -> Restock:
    return Restock(
        **{
            **keys("restock"),
            "order_id": order["id"],
            "currency": "USD",
            "lines": lines,
            "items": (ItemQuantity("V-MUG", 2), ItemQuantity("V-PLATE", 1)),
            **changes,
        }
    )


def release(order: Record, minor: int = TOTAL) -> VoidPayment:
    return VoidPayment(**keys("refund"), order_id=order["id"], payment_reference="P1", amount=usd(minor))


def code_of(outcome: Any) -> str:
    assert isinstance(outcome, Permanent | Retryable), outcome
    return outcome.code


# ---------------------------------------------------------------- reading


def test_a_token_is_checked_in_an_account_without_refunds_and_with_some(shop: Shop) -> None:
    assert shop.square.check().is_ok
    shop.paid(payments=[{"id": "P1", "refunds": [{"amount_minor": 100}]}])
    assert shop.square.check().is_ok


def test_a_refused_token_is_the_houses_fault(shop: Shop) -> None:
    shop.fault("list_refunds", Kind.REFUSE_AUTH)
    health = shop.square.check()
    assert not health.is_ok
    assert "REFUNDFLOW_SQUARE_ACCESS_TOKEN" in health.detail


def test_a_paid_order_is_read_with_what_can_be_done_with_it(shop: Shop) -> None:
    facts = shop.facts(shop.paid())
    assert (facts.number, facts.total, facts.location, facts.email) == (
        "1042",
        usd(TOTAL),
        "L1",
        "ada@customers.example",
    )
    assert [(x.line_id, x.sku, x.quantity, x.unfulfilled, x.unit) for x in facts.lines] == [
        ("LI1", "V-MUG", 2, 2, usd(1500)),
        ("LI2", "V-PLATE", 1, 1, usd(1190)),
    ]
    assert [(p.transaction_id, p.gateway, p.is_captured, p.amount, p.tender) for p in facts.payments] == [
        ("P1", "square", True, usd(TOTAL), Tender.CARD)
    ]
    assert facts.cancelled_at is None
    assert (facts.cancels, facts.cancels_lines, facts.cancel_refusal) == (
        TakesBack.CALL,
        TakesBack.PERSON,
        "",
    )
    told = (facts.is_restock_carried, facts.records_refunds, facts.releases_authorisations)
    assert told == (False, False, False)


@pytest.mark.parametrize("number", ["1042", "#1042"])
def test_an_order_is_found_by_its_number_or_its_id(shop: Shop, number: str) -> None:
    order = shop.paid()
    shop.order(number="10420", payments=[])
    for asked in (number, order["id"]):
        found = shop.square.read_order(OrderRef(NAME, number=asked))
        assert isinstance(found, OrderFacts)
        assert found.order_id == order["id"]
    assert isinstance(shop.square.read_order(OrderRef(NAME, number="77")), NotFound)


def test_a_number_that_two_orders_have_is_ambiguous(shop: Shop) -> None:
    shop.paid()
    shop.order(id="O-other", payments=[])
    assert code_of(shop.square.read_order(OrderRef(NAME, number="1042"))) == "ambiguous"


def test_the_order_of_a_refund_is_no_order(shop: Shop) -> None:
    order = shop.paid()
    shop.square.refund(pay_back(order))
    return_order = shop.book("refund")[0]["target"]["return_order"]
    assert code_of(shop.square.read_order(OrderRef(NAME, return_order))) == "is_a_return"


def test_tenders_are_told_apart(shop: Shop) -> None:
    payments = [
        {"id": "P1", "amount_minor": 1000},
        {"id": "P2", "amount_minor": 1000, "gateway": "CASH"},
        {"id": "P3", "amount_minor": 1000, "gateway": "EXTERNAL", "transaction": "pi_3"},
        {"id": "P4", "amount_minor": 1190, "gateway": "WALLET", "is_captured": False},
        {"id": "P5", "amount_minor": 500, "status": "FAILED"},
    ]
    facts = shop.facts(shop.order(payments=payments))
    assert [(p.gateway, p.transaction_id, p.provider_reference, p.is_captured) for p in facts.payments] == [
        ("square", "P1", "P1", True),
        ("cash", "P2", "P2", True),
        ("external", "P3", "pi_3", True),
        ("square", "P4", "P4", False),
    ]


def test_what_was_shipped_is_told_by_the_fulfilments(shop: Shop) -> None:
    part = shop.facts(shop.paid(lines=[{**MUGS, "shipped": 1}, PLATE]))
    assert [(x.line_id, x.unfulfilled) for x in part.lines] == [("LI1", 1), ("LI2", 1)]
    assert part.is_partly_fulfilled
    at_the_counter = shop.facts(shop.paid(number="7", fulfillments=[], payments=[{"id": "P7"}]))
    assert at_the_counter.is_fulfilled


@pytest.mark.parametrize(
    ("_case", "more", "words"),
    [
        ("open", {}, ""),
        ("made outside the API", {"is_outside_api": True}, "outside Square's API"),
        ("failed", {"fulfillments": [{"state": "FAILED"}]}, "FAILED"),
        ("shipped", {"fulfillments": [{"state": "COMPLETED"}]}, ""),
    ],
)
def test_what_square_would_refuse_is_known_beforehand(
    shop: Shop, _case: str, more: dict[str, Any], words: str
) -> None:
    refusal = shop.facts(shop.paid(**more)).cancel_refusal
    assert words in refusal if words else not refusal


def test_lines_are_worth_what_the_order_says(shop: Shop) -> None:
    facts = shop.facts(shop.paid())
    assert shop.square.quote_lines(facts, (LineQuantity("LI1", 1), LineQuantity("LI2", 1))) == usd(2690)
    assert code_of(shop.square.quote_lines(facts, (LineQuantity("LI1", 3),))) == "unknown_line"


# ---------------------------------------------------------------- cancelling


def test_a_paid_order_is_fenced_and_stays_open(shop: Shop) -> None:
    order = shop.paid()
    command = cancel(order)
    said = shop.square.cancel_order(command)
    assert isinstance(said, Done)
    assert "stays OPEN" in said.detail
    assert shop.effects == ["cancel_fulfillment"]
    assert shop.book("cancel_fulfillment")[0]["reference"] == {"refundflow_cancel": command.step_key}
    assert shop.square.find_cancel_order(command) == said
    # Fenced and not yet cancelled: the money is still with the shop, and the units can still be given back.
    facts = shop.facts(order)
    assert facts.cancelled_at is None
    assert len(facts.unfulfilled) == 2


def test_an_order_is_cancelled_once_its_money_is_back_too(shop: Shop) -> None:
    order = shop.paid()
    shop.square.cancel_order(cancel(order))
    assert isinstance(shop.square.refund(pay_back(order)), Pending)
    assert shop.facts(order).cancelled_at is None
    shop.settle(refund=shop.book("refund")[0]["id"], status="COMPLETED")
    assert shop.facts(order).cancelled_at is not None


def test_an_unpaid_order_is_cancelled_itself(shop: Shop) -> None:
    order = shop.order(payments=[])
    assert isinstance(shop.square.cancel_order(cancel(order)), Done)
    assert shop.effects == ["cancel_fulfillment", "cancel_order"]
    assert isinstance(shop.square.find_cancel_order(cancel(order)), Done)
    assert shop.facts(order).cancelled_at is not None
    assert isinstance(shop.square.cancel_order(cancel(order)), AlreadyDone)
    assert shop.effects == ["cancel_fulfillment", "cancel_order"]


def test_an_authorised_order_is_fenced_and_cancelled_when_it_is_released(shop: Shop) -> None:
    order = shop.paid(payments=[{"id": "P1", "is_captured": False}])
    assert isinstance(shop.square.cancel_order(cancel(order)), Done)
    assert shop.facts(order).cancelled_at is None
    assert shop.square.void_payment(release(order)) == Done("P1")
    assert shop.facts(order).cancelled_at is not None
    assert shop.effects == ["cancel_fulfillment", "void"]
    assert isinstance(shop.square.find_cancel_order(cancel(order)), Done)


def test_a_released_order_is_closed_like_an_unpaid_one(shop: Shop) -> None:
    order = shop.paid(payments=[{"id": "P1", "is_captured": False}])
    shop.square.void_payment(release(order))
    assert isinstance(shop.square.cancel_order(cancel(order)), Done)
    assert shop.effects == ["void", "cancel_fulfillment", "cancel_order"]


def test_an_open_paid_order_without_fulfilments_is_only_noted(shop: Shop) -> None:
    order = shop.paid(fulfillments=[], state="OPEN")
    command = cancel(order)
    assert isinstance(shop.square.find_cancel_order(command), NotFound)
    said = shop.square.cancel_order(command)
    assert isinstance(said, Done)
    assert "only noted" in said.detail
    assert shop.effects == []
    assert shop.square.find_cancel_order(command) == said
    assert isinstance(shop.square.cancel_order(command), AlreadyDone)


def test_a_closed_order_without_fulfilments_is_refused(shop: Shop) -> None:
    order = shop.paid(fulfillments=[])
    assert code_of(shop.square.cancel_order(cancel(order))) == "order_closed"


@pytest.mark.parametrize(
    ("_case", "more", "code"),
    [
        ("shipped", {"fulfillments": [{"state": "COMPLETED"}]}, "fulfilled"),
        ("partly shipped", {"lines": [{**MUGS, "shipped": 1}]}, "fulfilled"),
        ("made outside the API", {"is_outside_api": True}, "no_version"),
    ],
)
def test_what_cannot_be_fenced_is_refused_untouched(
    shop: Shop, _case: str, more: dict[str, Any], code: str
) -> None:
    order = shop.paid(**more)
    assert code_of(shop.square.cancel_order(cancel(order))) == code
    assert "update_order" not in shop.asked
    assert shop.effects == []


def test_a_lost_answer_is_found_and_the_fulfilment_was_cancelled_once(shop: Shop) -> None:
    order = shop.paid()
    shop.fault("update_order")
    with pytest.raises(MaybeSentError):
        shop.square.cancel_order(cancel(order))
    assert isinstance(shop.square.find_cancel_order(cancel(order)), Done)
    assert isinstance(shop.square.cancel_order(cancel(order)), AlreadyDone)
    assert shop.effects == ["cancel_fulfillment"]


def test_a_lost_request_leaves_nothing_and_is_sent_again(shop: Shop) -> None:
    order = shop.paid()
    shop.fault("update_order", Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.square.cancel_order(cancel(order))
    assert isinstance(shop.square.find_cancel_order(cancel(order)), NotFound)
    assert isinstance(shop.square.cancel_order(cancel(order)), Done)
    assert shop.effects == ["cancel_fulfillment"]


def test_a_server_error_is_unknown(shop: Shop) -> None:
    order = shop.paid()
    shop.fault("update_order", Kind.STATUS, status=500, is_after_effect=True)
    assert isinstance(shop.square.cancel_order(cancel(order)), Unknown)
    assert isinstance(shop.square.find_cancel_order(cancel(order)), Done)


class Meddling:
    """An `Http` before which somebody acts at the dashboard each time an order is about to be updated."""

    def __init__(self, shop: Shop, act: Any, times: int) -> None:
        self.shop = shop
        self.http = shop.square.http
        self.act = act
        self.times = times

    def send(self, request: Request) -> Response:
        if request.method == "PUT" and self.times:
            self.times -= 1
            self.act()
        return self.http.send(request)


def test_an_order_that_somebody_edits_is_read_and_judged_again(shop: Shop) -> None:
    order = shop.paid()
    edit = Meddling(shop, lambda: shop.settle(order=order["id"], metadata={"who": "ada"}), 2)
    assert isinstance(replace(shop.square, http=edit).cancel_order(cancel(order)), Done)
    assert shop.effects == ["cancel_fulfillment"]
    assert shop.asked.count("update_order") == 3


def test_an_order_that_never_rests_is_left_for_later(shop: Shop) -> None:
    order = shop.paid()
    edit = Meddling(shop, lambda: shop.settle(order=order["id"], metadata={"who": "ada"}), 9)
    assert code_of(replace(shop.square, http=edit).cancel_order(cancel(order))) == "unavailable"
    assert shop.effects == []


def test_an_order_that_ships_in_between_is_refused(shop: Shop) -> None:
    order = shop.paid()
    ship = Meddling(shop, lambda: shop.settle(order=order["id"], fulfillment="F1", status="COMPLETED"), 1)
    assert code_of(replace(shop.square, http=ship).cancel_order(cancel(order))) == "fulfilled"
    assert shop.effects == []


def test_a_fulfilment_that_a_person_cancelled_is_not_ours_and_counts(shop: Shop) -> None:
    order = shop.paid()
    shop.settle(order=order["id"], fulfillment="F1", status="CANCELED")
    assert isinstance(shop.square.find_cancel_order(cancel(order)), AlreadyDone)
    assert isinstance(shop.square.cancel_order(cancel(order)), AlreadyDone)


def test_an_unpaid_order_whose_fulfilment_a_person_cancelled_is_closed_by_us(shop: Shop) -> None:
    order = shop.order(payments=[])
    shop.settle(order=order["id"], fulfillment="F1", status="CANCELED")
    assert isinstance(shop.square.find_cancel_order(cancel(order)), NotFound)
    assert isinstance(shop.square.cancel_order(cancel(order)), Done)
    assert shop.book("cancel_order")


# ---------------------------------------------------------------- refunds


def test_a_refund_is_pending_and_then_done_and_stands_in_the_book_once(shop: Shop) -> None:
    order = shop.paid()
    command = pay_back(order)
    said = shop.square.refund(command)
    assert isinstance(said, Pending)
    assert shop.square.find_refund(command) == said
    shop.settle(refund=said.reference, status="COMPLETED")
    assert shop.square.find_refund(command) == Done(said.reference)
    assert shop.square.refund(command) == Done(said.reference)
    (line,) = shop.book("refund")
    assert (line["amount_minor"], line["currency"], line["reference"]) == (
        TOTAL,
        "USD",
        f"refundflow {command.step_key}",
    )
    assert len(line["idempotency_key"].encode()) <= 45
    (seen,) = shop.payment().refunds
    assert (seen.step_key, seen.status, seen.amount) == (
        command.step_key,
        RefundStatus.SUCCEEDED,
        usd(TOTAL),
    )


def test_a_refund_at_once_is_done(shop: Shop) -> None:
    order = shop.paid(settings={"refunds_complete_at_once": True})
    assert isinstance(shop.square.refund(pay_back(order)), Done)


def test_a_lost_answer_is_found_and_the_refund_stays_one(shop: Shop) -> None:
    order = shop.paid(settings={"refunds_complete_at_once": True})
    shop.fault("create_refund")
    with pytest.raises(MaybeSentError):
        shop.square.refund(pay_back(order))
    found = shop.square.find_refund(pay_back(order))
    assert isinstance(found, Done)
    assert shop.square.refund(pay_back(order)) == found
    assert shop.effects == ["refund"]


def test_the_same_key_pays_once_even_where_nobody_looks(shop: Shop) -> None:
    order = shop.paid()
    for _ in range(3):
        assert shop.square.http.send(refund_request(pay_back(order, 1000))).status == 200
    assert shop.effects == ["refund"]


@pytest.mark.parametrize("after", [False, True])
def test_a_server_error_is_unknown_until_it_is_looked_at(shop: Shop, after: bool) -> None:
    order = shop.paid()
    shop.fault("create_refund", Kind.STATUS, status=503, is_after_effect=after)
    assert isinstance(shop.square.refund(pay_back(order)), Unknown)
    found = shop.square.find_refund(pay_back(order))
    assert isinstance(found, Pending if after else NotFound)
    assert isinstance(shop.square.refund(pay_back(order)), Pending)
    assert shop.effects == ["refund"]


def test_a_refund_that_fails_late_is_told_and_not_repeated(shop: Shop) -> None:
    order = shop.paid()
    shop.fault("create_refund", Kind.LATE_FAILURE)
    assert isinstance(shop.square.refund(pay_back(order)), Pending)
    shop.world.settle(NAME, {})
    assert code_of(shop.square.find_refund(pay_back(order))) == "refund_failed"
    assert "FAILED" in shop.payment().refund_refusal
    again = pay_back(order, **keys("refund", 1, attempt=2))
    assert isinstance(shop.square.find_refund(again), NotFound)
    assert code_of(shop.square.refund(again)) == "not_repeatable"
    assert shop.effects == ["refund", "refund_failed"]


@pytest.mark.parametrize("code", ["FAILED", "FAILED_200"])
def test_a_refund_that_fails_in_the_answer_is_told(shop: Shop, code: str) -> None:
    order = shop.paid()
    shop.fault("create_refund", Kind.REFUSE, code=code)
    assert code_of(shop.square.refund(pay_back(order))) == "refund_failed"
    assert code_of(shop.square.find_refund(pay_back(order))) == "refund_failed"
    assert shop.effects == []


def test_a_rejected_refund_may_be_tried_again_by_a_person(shop: Shop) -> None:
    order = shop.paid()
    said = shop.square.refund(pay_back(order))
    assert isinstance(said, Pending)
    shop.settle(refund=said.reference, status="REJECTED")
    assert code_of(shop.square.find_refund(pay_back(order))) == "refund_failed"
    assert "REJECTED" in shop.payment().refund_refusal
    again = pay_back(order, **keys("refund", 1, attempt=2))
    assert isinstance(shop.square.refund(again), Pending)
    assert shop.effects == ["refund", "refund_rejected", "refund"]


def test_money_that_somebody_else_gave_back_is_not_given_twice(shop: Shop) -> None:
    order = shop.paid()
    shop.settle(payment="P1", dashboard_refund={"amount_minor": 3000})
    assert code_of(shop.square.refund(pay_back(order))) == "refunded_elsewhere"
    assert code_of(shop.square.find_refund(pay_back(order))) == "refunded_elsewhere"
    assert "create_refund" not in shop.asked
    assert isinstance(shop.square.refund(pay_back(order, 1190)), Pending)
    assert shop.payment().refunded_elsewhere == 3000
    assert [line["by"] for line in shop.book("refund")] == ["dashboard", "api"]


def test_cash_is_not_called_given_back(shop: Shop) -> None:
    order = shop.paid(payments=[{"id": "P1", "gateway": "CASH"}])
    assert "by hand" in shop.payment().refund_refusal
    assert code_of(shop.square.refund(pay_back(order))) == "not_through_square"
    assert shop.effects == []


@pytest.mark.parametrize(
    ("_case", "code", "expected"),
    [
        ("declined", "REFUND_DECLINED", "REFUND_DECLINED"),
        ("disputed", "PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE", "disputed"),
        ("another's is pending", "REFUND_ALREADY_PENDING", "unavailable"),
        ("not captured yet", "REFUND_ERROR_PAYMENT_NEEDS_COMPLETION", "unavailable"),
        ("no permission", "INSUFFICIENT_SCOPES", "unauthorised"),
        ("too often", "RATE_LIMITED", "throttled"),
    ],
)
def test_refusals_are_read_for_what_they_mean(shop: Shop, _case: str, code: str, expected: str) -> None:
    order = shop.paid()
    shop.fault("create_refund", Kind.REFUSE, code=code)
    assert code_of(shop.square.refund(pay_back(order))) == expected
    assert shop.effects == []


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("EVIDENCE_REQUIRED", DisputeState.OPEN),
        ("LOST", DisputeState.LOST),
        ("INQUIRY_PROCESSING", DisputeState.WARNING),
        ("INQUIRY_CLOSED", DisputeState.NONE),
        ("WON", DisputeState.WON),
    ],
)
def test_a_dispute_is_told_with_its_payment(shop: Shop, word: str, state: DisputeState) -> None:
    order = shop.paid(
        payments=[
            {"id": "P1", "amount_minor": 3000, "dispute": {"id": "D1", "state": word}},
            {"id": "P2"},
        ]
    )
    assert shop.payment().dispute is state
    assert shop.payment("P2").dispute is DisputeState.NONE
    said = shop.square.refund(pay_back(order, 3000))
    if state in (DisputeState.OPEN, DisputeState.LOST):
        assert code_of(said) == "disputed"
    else:
        assert isinstance(said, Pending)


def test_a_payment_is_refundable_for_a_year(shop: Shop) -> None:
    order = shop.paid(created_at="2025-11-24T12:00:00Z")
    assert shop.payment().refundable_until == NOW - timedelta(days=1)
    assert code_of(shop.square.refund(pay_back(order))) == "PAYMENT_NOT_REFUNDABLE"


# ---------------------------------------------------------------- releases


def test_an_authorisation_is_released_once(shop: Shop) -> None:
    order = shop.paid(payments=[{"id": "P1", "is_captured": False}])
    facts = shop.payment()
    assert (facts.state, facts.authorised) == (PaymentState.AUTHORISED, usd(TOTAL))
    assert isinstance(shop.square.find_void_payment(release(order)), NotFound)
    shop.fault("cancel_payment")
    with pytest.raises(MaybeSentError):
        shop.square.void_payment(release(order))
    assert shop.square.find_void_payment(release(order)) == Done("P1")
    assert isinstance(shop.square.void_payment(release(order)), Unknown)
    assert shop.effects == ["void"]
    assert shop.payment().state is PaymentState.VOIDED


def test_what_was_captured_meanwhile_is_not_released(shop: Shop) -> None:
    order = shop.paid()
    assert isinstance(shop.square.void_payment(release(order)), Unknown)
    assert code_of(shop.square.find_void_payment(release(order))) == "captured_meanwhile"
    assert shop.effects == []


def test_a_release_of_another_amount_is_a_mismatch(shop: Shop) -> None:
    order = shop.paid(payments=[{"id": "P1", "is_captured": False}])
    assert code_of(shop.square.void_payment(release(order, 4000))) == "amount_mismatch"


# ---------------------------------------------------------------- stock


def test_units_come_back_once_under_our_reference(shop: Shop) -> None:
    order = shop.paid()
    command = put_back(order)
    assert isinstance(shop.square.find_restock(command), NotFound)
    said = shop.square.restock(command)
    assert isinstance(said, Done)
    assert shop.square.find_restock(command) == said
    assert shop.square.restock(command) == said
    assert [(x["sku"], x["quantity"], x["reference"]) for x in shop.book("restock")] == [
        ("MUG", 2, command.step_key),
        ("PLATE", 1, command.step_key),
    ]
    assert (shop.stock("MUG"), shop.stock("PLATE")) == (12, 6)


def test_a_lost_answer_is_found_and_the_units_came_back_once(shop: Shop) -> None:
    order = shop.paid()
    shop.fault("change_inventory")
    with pytest.raises(MaybeSentError):
        shop.square.restock(put_back(order))
    assert isinstance(shop.square.find_restock(put_back(order)), Done)
    shop.now += timedelta(minutes=5)
    assert isinstance(shop.square.restock(put_back(order)), Done)
    assert shop.stock("MUG") == 12


def test_a_repeat_without_a_look_is_refused_by_the_key(shop: Shop) -> None:
    order, command = shop.paid(), put_back(shop.paid(number="7", payments=[{"id": "P7"}]))
    shelf = shop.square._shelf("restock", replace(command, order_id=order["id"]))
    assert isinstance(shelf, Shelf)
    assert shop.square.http.send(restock_request(shelf, command, shop.now)).status == 200
    later = shop.square.http.send(restock_request(shelf, command, shop.now + timedelta(seconds=-30)))
    assert later.json["errors"][0]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert shop.stock("MUG") == 12


def test_another_step_about_the_same_article_is_not_mistaken_for_ours(shop: Shop) -> None:
    first, second = shop.paid(), shop.paid(number="7", payments=[{"id": "P7"}])
    shop.square.restock(put_back(first))
    other = put_back(second, **keys("restock", 2))
    assert isinstance(shop.square.find_restock(other), NotFound)
    assert isinstance(shop.square.restock(other), Done)
    assert shop.stock("MUG") == 14


def test_our_reference_is_found_behind_many_movements(shop: Shop) -> None:
    order = shop.paid()
    for number in range(2, 150):
        shop.square.restock(put_back(order, (LineQuantity("LI1", 1),), **keys("restock", number)))
    assert isinstance(shop.square.restock(put_back(order)), Done)
    before = shop.asked.count("list_inventory_changes")
    assert isinstance(shop.square.find_restock(put_back(order)), Done)
    assert shop.asked.count("list_inventory_changes") - before == 2


def test_what_squares_refund_put_back_is_not_put_back_again(shop: Shop) -> None:
    order = shop.paid(settings={"refund_restocks": True})
    shop.square.refund(pay_back(order))
    said = shop.square.restock(put_back(order))
    assert isinstance(said, AlreadyDone)
    assert "refund" in said.detail
    assert (shop.stock("MUG"), shop.stock("PLATE")) == (12, 6)
    assert code_of(shop.square.restock(put_back(order, (LineQuantity("LI1", 1),)))) == "restock_mismatch"


def test_two_restocks_are_shown_to_a_person(shop: Shop) -> None:
    order = shop.paid(settings={"refund_restocks": True})
    assert isinstance(shop.square.restock(put_back(order)), Done)
    shop.square.refund(pay_back(order))
    assert code_of(shop.square.find_restock(put_back(order))) == "done_twice"


@pytest.mark.parametrize(
    ("_case", "more", "changes", "code"),
    [
        ("never paid", {"payments": []}, {}, "never_sold"),
        ("of another platform", {}, {"order_id": ""}, "foreign_order"),
        ("unknown line", {}, {"lines": (LineQuantity("LI9", 1),)}, "unknown_line"),
        ("too many units", {}, {"lines": (LineQuantity("LI1", 3),)}, "unknown_line"),
        ("carried by something", {}, {"carried_by": "RF-1.cancel_order.1"}, "not_carried"),
    ],
)
def test_what_cannot_be_put_back_is_said_to_a_person(
    shop: Shop, _case: str, more: dict[str, Any], changes: dict[str, Any], code: str
) -> None:
    order = shop.paid(**more)
    assert code_of(shop.square.restock(put_back(order, **changes))) == code
    assert "change_inventory" not in shop.asked
    assert shop.stock("MUG") == 10


def test_lines_that_are_no_article_have_no_stock(shop: Shop) -> None:
    order = shop.paid(lines=[{"uid": "LI1", "title": "Engraving", "unit_minor": 500}])
    assert isinstance(shop.square.restock(put_back(order, (LineQuantity("LI1", 1),))), AlreadyDone)


# ---------------------------------------------------------------- events


URL = "https://shop.example/hooks/square"
INBOUND = SquareInbound(Secret("old-key,practice-key"), URL)


def test_the_vendors_own_deliveries_are_verified_and_read(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription(URL, "practice-key"))
    unpaid, order = shop.order(number="7", payments=[]), shop.paid()
    shop.square.cancel_order(cancel(unpaid))
    shop.square.cancel_order(cancel(order))
    shop.square.refund(pay_back(order))
    shop.settle(payment="P1", open_dispute={"id": "D1"})
    shop.world.webhooks.wait_idle()
    read = []
    for _, delivery in shop.deliveries:
        verified = INBOUND.verify(delivery, shop.now)
        assert isinstance(verified, Verified)
        read.append(INBOUND.read_event(verified.topic, delivery.body))
    by_kind: dict[type, list[Any]] = {}
    for reading in read:
        by_kind.setdefault(type(reading), []).append(reading)
    assert by_kind[OrderCancelledElsewhere] == [OrderCancelledElsewhere(OrderRef(NAME, unpaid["id"]))]
    (seen,) = by_kind[RefundSeen]
    assert (seen.payment_reference, seen.status, seen.step_key) == (
        "P1",
        RefundStatus.PENDING,
        pay_back(order).step_key,
    )
    assert by_kind[PaymentRefundsChanged] == [PaymentRefundsChanged(NAME, "P1", OrderRef(NAME, order["id"]))]
    (dispute,) = by_kind[DisputeSeen]
    assert (dispute.payment_reference, dispute.dispute_reference, dispute.state) == (
        "P1",
        "D1",
        DisputeState.OPEN,
    )
    assert Irrelevant in by_kind


def test_a_delivery_for_another_address_or_key_is_refused(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription(URL, "practice-key"))
    shop.square.cancel_order(cancel(shop.paid()))
    shop.world.webhooks.wait_idle()
    _, delivery = shop.deliveries[0]
    for strange in (
        SquareInbound(Secret("practice-key"), URL + "/"),
        SquareInbound(Secret("another"), URL),
        SquareInbound(Secret(), URL),
        SquareInbound(Secret("practice-key"), ""),
    ):
        assert isinstance(strange.verify(delivery, shop.now), Refused)
