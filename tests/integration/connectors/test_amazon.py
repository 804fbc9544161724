"""Amazon's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from refundflow.connectors.amazon import (
    CANCEL_REQUESTED,
    CANCELLED,
    REFUNDED,
    UNREADABLE,
    Amazon,
    AmazonInbound,
    Credentials,
    build,
    read_cursor,
)
from refundflow.connectors.base import Polled, PolledEvent
from refundflow.domain.commands import AnyCommand, CancelOrder, Refund
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef, PaymentFacts, PaymentState
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import CancellationRequested, OrderCancelledElsewhere, PaymentRefundsChanged
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind, settle_look
from refundflow.sandbox import amazon as double
from refundflow.sandbox.base import Fault, How, Kind, Record, World
from refundflow.settings import Secret
from refundflow.transport.base import Http, MaybeSentError, NotSentError, Request, Response
from tests.support.world_http import VENDORS, WorldWire

NAME: Final = "amazon"
NOW: Final = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE: Final = mint_case_id(NOW, 12345)
ID: Final = "111-1111111-1111111"
OTHER: Final = "111-2222222-2222222"
MUGS: Final = {
    "id": "10000000000001",
    "sku": "MUG",
    "unit_price": "15.00",
    "quantity": 2,
    "shipping": "4.00",
    "tax": "2.80",
}
PLATE: Final = {"id": "10000000000002", "sku": "PLATE", "unit_price": "10.00", "discount": "1.00"}
#: Without the tax that Amazon collected and returns by itself.
OURS: Final = 4300
S3: Final = "https://tortuga-prod-na.s3-external-1.amazonaws.com"


class Storage:
    """Leads the documents' pre-signed addresses to the practice vendor, who names no host of its own here."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def send(self, request: Request) -> Response:
        return self.http.send(replace(request, path=request.path.replace(S3, f"{VENDORS}/{NAME}")))


class StorageWire(WorldWire):
    def http(self, **arguments: Any) -> Http:
        return Storage(super().http(**arguments))


class Shop:
    """A practice Amazon, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.world = World([double.Amazon], clock=lambda: self.now)
        self.credentials = Credentials(
            client_id=double.CLIENT_ID,
            client_secret=Secret(double.CLIENT_SECRET),
            refresh_token=Secret(double.REFRESH_TOKEN),
            seller_id=double.SELLER_ID,
            marketplace_ids=double.MARKETPLACE,
            base_url=f"{VENDORS}/{NAME}",
            token_url=f"{VENDORS}/{NAME}/auth/o2/token",
            queue_url=double.QUEUE_URL,
            aws_access_key_id=double.AWS_ACCESS_KEY_ID,
            aws_secret_access_key=Secret(double.AWS_SECRET_ACCESS_KEY),
            sqs_url=f"{VENDORS}/{NAME}",
        )
        self.amazon = self.connect()

    def connect(self, **changes: Any) -> Amazon:
        return build(replace(self.credentials, **changes), StorageWire(self.world), lambda: self.now)

    def order(self, order_id: str = ID, *, habits: Record | None = None, **more: Any) -> None:
        described = {"id": order_id, "items": [MUGS, PLATE], **more}
        self.world.seed({NAME: {"habits": habits or {}, "orders": [described]}})

    def shipped(self, order_id: str = ID, **more: Any) -> None:
        self.order(order_id, status="SHIPPED", **more)

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, operation: str, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def later(self, **more: float) -> None:
        self.now += timedelta(**more)

    def book(self, effect: str) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    @property
    def refunds(self) -> list[tuple[str, int]]:
        return [(line["target"]["order"], line["amount_minor"]) for line in self.book("refund")]

    def facts(self, order_id: str = ID) -> OrderFacts:
        found = self.amazon.read_order(OrderRef(NAME, order_id))
        assert isinstance(found, OrderFacts), found
        return found

    def payment(self, order_id: str = ID) -> PaymentFacts:
        found = self.amazon.read_payment("", order_id)
        assert isinstance(found, PaymentFacts), found
        return found

    def poll_all(self, cursor: str = "") -> tuple[list[PolledEvent], str]:
        """Looks until nothing is due, as the flow does; an event that came twice is kept once, as the inbox does."""
        kept: dict[str, PolledEvent] = {}
        for _ in range(30):
            found = self.amazon.poll(cursor, self.now)
            assert isinstance(found, Polled), found
            kept = {**{e.source_event_id: e for e in found.events}, **kept}
            cursor = found.cursor
            if not found.has_more:
                return list(kept.values()), cursor
        raise AssertionError("polling does not end")


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def keys(kind: str, number: int = 1, attempt: int = 1) -> dict[str, Any]:
    step_key = mint_step_key(CASE, kind, number)
    return {"step_key": step_key, "key": wire_key(step_key, attempt)}


def cancel(order_id: str = ID, **changes: Any) -> CancelOrder:
    return CancelOrder(
        **{**keys("cancel_order"), "order_id": order_id, "reason": "customer", "restock": False, **changes}
    )


def pay_back(minor: int = OURS, order_id: str = ID, **changes: Any) -> Refund:
    return Refund(
        **{
            **keys("refund"),
            "order_id": order_id,
            "order_number": order_id,
            "payment_reference": order_id,
            "gateway": NAME,
            "amount": Money(minor, "USD"),
            "is_whole": minor == OURS,
            **changes,
        }
    )


def sent(act: Any, command: AnyCommand) -> Outcome:
    """One try as the flow tells it: an answer that got lost is Unknown."""
    try:
        found: Outcome = act(command)
    except MaybeSentError as error:
        return Unknown(error.reason)
    return found


def drive(shop: Shop, connector: Amazon, command: Refund | CancelOrder, most: int = 200) -> Outcome:
    """One step as the flow carries it: never sent twice but after a conclusive look; an hour at most between two looks."""
    is_refund = isinstance(command, Refund)
    act = connector.refund if is_refund else connector.cancel_order
    look = connector.find_refund if is_refund else connector.find_cancel_order
    sent_at, reference = shop.now, ""
    outcome = sent(act, command)
    for _ in range(most):
        match outcome:
            case Done() | AlreadyDone() | Permanent():
                return outcome
            case Retryable():
                shop.later(minutes=20)
                sent_at, reference = shop.now, ""
                outcome = sent(act, command)
                continue
            case Pending(reference=accepted):
                state, reference = StepState.PENDING, accepted
            case _:
                state = StepState.PENDING if reference else StepState.UNKNOWN
        shop.later(minutes=20)
        step = Step(
            step_key=command.step_key,
            case_id=CASE,
            number=0,
            kind=StepKind.REFUND if is_refund else StepKind.CANCEL_ORDER,
            action="refund" if is_refund else "cancel_order",
            platform=NAME,
            command=command,
            state=state,
            reference=reference,
            sent_at=sent_at,
        )
        told = settle_look(sent(look, command), step, shop.now, is_natural=not is_refund)
        if isinstance(told, NotFound | Unknown):
            told = Pending(reference) if reference else Unknown(told.reason)
        outcome = told
    return outcome


# ---------------------------------------------------------------- reading


def test_the_token_is_checked(shop: Shop) -> None:
    assert shop.amazon.check().is_ok
    shop.settle(authorisation="revoked")
    with pytest.raises(NotSentError, match="no token"):
        shop.amazon.check()


def test_wrong_credentials_are_the_houses_fault_and_nothing_is_sent(shop: Shop) -> None:
    shop.shipped()
    connector = shop.connect(refresh_token=Secret("Atzr|wrong"))
    with pytest.raises(NotSentError, match="no token"):
        connector.refund(pay_back())
    assert set(shop.asked) == {"get_token"}


def test_an_old_token_is_renewed_before_and_after_amazon_says_so(shop: Shop) -> None:
    shop.order()
    shop.facts()
    shop.later(hours=2)  # the source's own clock does not know: Amazon's 403 does
    shop.facts()
    assert shop.asked.count("get_token") == 2


def test_a_missing_role_is_told_apart(shop: Shop) -> None:
    shop.shipped()
    shop.world.seed({NAME: {"roles": [double.ORDERS_ROLE]}})
    said = shop.amazon.refund(pay_back())
    assert isinstance(said, Retryable)
    assert said.code == "unauthorised"
    assert shop.asked.count("get_token") == 1
    assert shop.refunds == []


def test_an_open_order_and_its_money(shop: Shop) -> None:
    shop.order()
    facts, payment = shop.facts(), shop.payment()
    assert (facts.total, facts.cancel_refusal, facts.is_partly_fulfilled) == (Money(4580, "USD"), "", False)
    assert [(x.line_id, x.sku, x.quantity, x.unfulfilled, x.unit.minor) for x in facts.lines] == [
        ("10000000000001", "MUG", 2, 2, 1500),
        ("10000000000002", "PLATE", 1, 1, 900),
    ]
    assert (payment.state, payment.authorised.minor, payment.captured.minor) == (
        PaymentState.AUTHORISED,
        OURS,
        0,
    )


def test_a_shipped_order_and_its_money(shop: Shop) -> None:
    shop.shipped()
    shop.settle(order=ID, event="refund", amount="5.00")
    shop.later(minutes=3)
    assert shop.facts().is_fulfilled
    payment = shop.payment()
    assert (payment.state, payment.captured.minor, payment.refunded, payment.refunded_elsewhere) == (
        PaymentState.CAPTURED,
        OURS,
        500,
        500,
    )


def test_a_partly_shipped_order(shop: Shop) -> None:
    shop.order()
    shop.settle(order=ID, event="ship", items={"10000000000001": 1})
    shop.later(minutes=3)
    facts = shop.facts()
    assert facts.is_partly_fulfilled
    assert facts.unfulfilled == (LineQuantity("10000000000001", 1), LineQuantity("10000000000002", 1))
    assert shop.payment().captured.minor == 1500


def test_an_order_that_is_not_there(shop: Shop) -> None:
    assert isinstance(shop.amazon.read_order(OrderRef(NAME, OTHER)), NotFound)
    assert isinstance(shop.amazon.read_payment("", OTHER), NotFound)


def test_orders_that_amazon_fulfils_are_only_read(shop: Shop) -> None:
    shop.order(fulfilled_by="AMAZON")
    assert "Amazon fulfils" in shop.facts().cancel_refusal
    assert "Amazon fulfils" in shop.payment().refund_refusal
    for said in (shop.amazon.cancel_order(cancel()), shop.amazon.refund(pay_back())):
        assert isinstance(said, Permanent)
        assert said.code == "fulfilled_by_amazon"
    assert "create_feed" not in shop.asked


# ---------------------------------------------------------------- cancel


def test_a_cancel_is_pending_until_the_order_says_so(shop: Shop) -> None:
    shop.order(habits={"feed_work_s": 600, "cancel_shows_after_s": 1800})
    assert isinstance(shop.amazon.cancel_order(cancel()), Pending)
    assert isinstance(shop.amazon.find_cancel_order(cancel()), Unknown)  # Amazon works on it
    shop.later(minutes=15)
    assert isinstance(shop.amazon.find_cancel_order(cancel()), NotFound)  # done, and not shown yet
    shop.later(minutes=30)
    assert isinstance(shop.amazon.find_cancel_order(cancel()), Done)
    assert shop.facts().cancelled_at is not None
    (line,) = shop.book("cancel_order")
    assert set(line["reasons"].values()) == {"BuyerCanceled"}
    assert line["reference"] == cancel().step_key
    assert shop.payment().state is PaymentState.VOIDED
    assert shop.refunds == []


def test_a_pending_order_is_left_until_it_is_paid(shop: Shop) -> None:
    shop.order(status="PENDING")
    assert "PENDING" in shop.facts().cancel_refusal
    assert isinstance(shop.amazon.cancel_order(cancel()), Retryable)
    shop.settle(order=ID, event="pay")
    assert isinstance(shop.amazon.cancel_order(cancel()), Pending)
    assert len(shop.book("cancel_order")) == 1


def test_an_order_that_was_shipped_is_never_sent_a_cancel(shop: Shop) -> None:
    shop.order()
    shop.settle(order=ID, event="ship", items={"10000000000001": 1})
    said = shop.amazon.cancel_order(cancel())
    assert isinstance(said, Permanent)
    assert said.code == "shipped_meanwhile"
    assert "create_feed" not in shop.asked
    assert shop.refunds == []


@pytest.mark.parametrize("event", ["buyer_cancel", "amazon_cancel"])
def test_a_cancel_by_somebody_else_is_already_done(shop: Shop, event: str) -> None:
    shop.order()
    shop.settle(order=ID, event=event)
    assert isinstance(shop.amazon.cancel_order(cancel()), AlreadyDone)
    assert isinstance(shop.amazon.find_cancel_order(cancel()), AlreadyDone)
    assert "create_feed" not in shop.asked


def test_a_refused_cancel_says_why(shop: Shop) -> None:
    shop.order(feed_refusal="18028")
    assert isinstance(shop.amazon.cancel_order(cancel()), Pending)
    found = shop.amazon.find_cancel_order(cancel())
    assert isinstance(found, Permanent)
    assert shop.book("cancel_order") == []


CALLS = ["get_order", "create_feed_document", "upload_document", "create_feed"]
TROUBLE: Final[dict[str, dict[str, Any]]] = {
    "reply lost": {"kind": Kind.LOST_REPLY},
    "request lost": {"kind": Kind.LOST_REQUEST},
    "429": {"kind": Kind.STATUS, "status": 429},
    "500 before": {"kind": Kind.STATUS, "status": 500},
    "500 after the effect": {"kind": Kind.STATUS, "status": 500, "is_after_effect": True},
    "503 after the effect": {"kind": Kind.STATUS, "status": 503, "is_after_effect": True},
    "HTML after the effect": {"kind": Kind.HTML, "status": 502, "is_after_effect": True},
    "HTML with 200": {"kind": Kind.HTML, "status": 200, "is_after_effect": True},
    "bad credentials": {"kind": Kind.REFUSE_AUTH},
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
@pytest.mark.parametrize("call", CALLS)
def test_whatever_goes_wrong_an_order_is_cancelled_once(shop: Shop, call: str, trouble: Any) -> None:
    shop.order()
    shop.fault(call, **trouble)
    said = drive(shop, shop.amazon, cancel())
    assert isinstance(said, Done), said
    assert len(shop.book("cancel_order")) == 1
    assert shop.refunds == []


# ---------------------------------------------------------------- refund


@pytest.mark.parametrize(
    ("call", "trouble"),
    [
        (call, name)
        for call in ("get_order", "list_transactions", "get_feeds", *CALLS[1:])
        for name in TROUBLE
    ],
)
def test_whatever_goes_wrong_the_money_goes_back_once(shop: Shop, call: str, trouble: str) -> None:
    shop.shipped(habits={"finances_lag_s": 40 * 3600, "feed_work_s": 900, "feeds_list_lag_s": 600})
    shop.fault(call, **TROUBLE[trouble])
    said = drive(shop, shop.amazon, pay_back())
    assert isinstance(said, Done), said
    assert shop.refunds == [(ID, OURS)]
    assert shop.payment().refunded == OURS


@pytest.mark.parametrize("lag_s", [0, 600])
def test_a_lost_answer_is_looked_up_and_never_sent_again_while_a_feed_may_be_ours(
    shop: Shop, lag_s: int
) -> None:
    shop.shipped(habits={"finances_lag_s": 47 * 3600, "feeds_list_lag_s": lag_s})
    shop.fault("create_feed", Kind.LOST_REPLY)
    with pytest.raises(MaybeSentError):
        shop.amazon.refund(pay_back())
    for hours in (1, 20, 20):
        shop.later(hours=hours)
        assert isinstance(shop.amazon.find_refund(pay_back()), Unknown)
        assert isinstance(shop.amazon.refund(pay_back()), Unknown)  # were somebody to try all the same
    shop.later(hours=7)
    assert isinstance(shop.amazon.find_refund(pay_back()), Done)
    assert isinstance(shop.amazon.refund(pay_back()), AlreadyDone)
    assert shop.refunds == [(ID, OURS)]


def test_a_lost_request_is_sent_again_only_after_the_lists_lag(shop: Shop) -> None:
    shop.shipped()
    shop.fault("create_feed", Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.amazon.refund(pay_back())
    found = shop.amazon.find_refund(pay_back())
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s == 1800.0
    shop.later(minutes=31)
    assert isinstance(shop.amazon.refund(pay_back()), Pending)
    assert shop.refunds == [(ID, OURS)]


def test_a_feed_that_the_list_shows_late_is_still_found(shop: Shop) -> None:
    shop.shipped(habits={"feeds_list_lag_s": 1200, "finances_lag_s": 3600})
    shop.fault("create_feed", Kind.LOST_REPLY)
    assert isinstance(drive(shop, shop.amazon, pay_back()), Done)
    assert shop.refunds == [(ID, OURS)]


def test_a_refused_refund_is_a_no_with_the_vendors_words(shop: Shop) -> None:
    shop.shipped(feed_refusal="18028")
    said = drive(shop, shop.amazon, pay_back())
    assert isinstance(said, Permanent)
    assert said.code == "18028"
    assert shop.refunds == []


def test_after_a_no_the_next_key_may_go(shop: Shop) -> None:
    shop.shipped(feed_refusal="18028")
    assert isinstance(drive(shop, shop.amazon, pay_back()), Permanent)
    shop.world.vendor(NAME).orders[ID].feed_refusal = None  # type: ignore[attr-defined] # the practice vendor's own
    again = pay_back(**keys("refund", attempt=2))
    assert isinstance(shop.amazon.find_refund(again), NotFound)
    assert isinstance(drive(shop, shop.amazon, again), Done)
    assert shop.refunds == [(ID, OURS)]


@pytest.mark.parametrize(("executed", "effects"), [(1, 1), (0, 0)])
def test_a_fatal_feed_may_have_paid(shop: Shop, executed: int, effects: int) -> None:
    shop.shipped(habits={"finances_lag_s": 3600})
    shop.fault("create_feed", Kind.SLOW_PENDING)
    said = shop.amazon.refund(pay_back())
    assert isinstance(said, Pending)
    shop.settle(feed=said.reference, status="FATAL", executed=executed)
    assert isinstance(shop.amazon.find_refund(pay_back()), Unknown)
    shop.later(hours=2)
    found = shop.amazon.find_refund(pay_back())
    assert isinstance(found, Done if effects else Unknown)
    assert len(shop.refunds) == effects
    if not effects:
        shop.later(hours=72)
        found = shop.amazon.find_refund(pay_back())
        assert isinstance(found, NotFound)
        assert found.conclusive_after_s is None  # a person looks: nothing is sent again by itself


def test_a_cancelled_feed_was_not_run(shop: Shop) -> None:
    shop.shipped()
    shop.fault("create_feed", Kind.SLOW_PENDING)
    said = shop.amazon.refund(pay_back())
    assert isinstance(said, Pending)
    assert isinstance(shop.amazon.find_refund(pay_back()), Unknown)
    shop.settle(feed=said.reference, status="CANCELLED")
    assert isinstance(shop.amazon.find_refund(pay_back()), NotFound)
    assert shop.refunds == []


def test_a_feed_that_hangs_is_waited_for(shop: Shop) -> None:
    shop.shipped()
    shop.fault("create_feed", Kind.SLOW_PENDING)
    said = shop.amazon.refund(pay_back())
    assert isinstance(said, Pending)
    shop.settle(feed=said.reference, status="IN_PROGRESS")
    shop.later(days=9)
    assert isinstance(shop.amazon.find_refund(pay_back()), Unknown)
    shop.settle(feed=said.reference, status="DONE")
    shop.later(minutes=3)
    assert isinstance(shop.amazon.find_refund(pay_back()), Done)
    assert shop.refunds == [(ID, OURS)]


def test_money_that_somebody_else_returned_is_not_returned_again(shop: Shop) -> None:
    shop.shipped()
    shop.settle(order=ID, event="refund", amount="43.00")
    shop.later(minutes=3)
    assert isinstance(shop.amazon.refund(pay_back()), AlreadyDone)
    assert [line["by"] for line in shop.book("refund")] == ["AMAZON"]


def test_another_amount_that_went_back_is_a_persons(shop: Shop) -> None:
    shop.shipped()
    shop.settle(order=ID, event="refund", amount="5.00")
    shop.later(minutes=3)
    for said in (shop.amazon.refund(pay_back()), shop.amazon.find_refund(pay_back())):
        assert isinstance(said, Permanent)
        assert said.code == "amount_mismatch"
    assert len(shop.refunds) == 1


def test_the_rest_of_what_went_back_earlier_may_go(shop: Shop) -> None:
    shop.now = NOW - timedelta(days=5)
    shop.shipped()
    shop.settle(order=ID, event="refund", amount="5.00")
    shop.now = NOW
    said = drive(shop, shop.amazon, pay_back(OURS - 500))
    assert isinstance(said, Done)
    assert shop.payment().refunded == OURS


def test_the_fee_that_amazon_gives_back_is_not_taken_for_another_amount(shop: Shop) -> None:
    shop.shipped(habits={"returned_fee_percent": 15})
    assert isinstance(drive(shop, shop.amazon, pay_back()), Done)
    assert shop.payment().refunded == OURS


def test_single_units_are_returned_as_quoted(shop: Shop) -> None:
    shop.shipped(is_tax_ours=True)
    facts = shop.facts()
    lines = (LineQuantity("10000000000001", 1),)
    quote = shop.amazon.quote_lines(facts, lines)
    assert quote == Money(1640, "USD")
    said = drive(shop, shop.amazon, pay_back(1640, lines=lines, is_whole=False))
    assert isinstance(said, Done)
    (line,) = shop.book("refund")
    assert [(i["item"], i["amount"]) for i in line["items"]] == [("10000000000001", "16.40")]


def test_tax_that_the_seller_collects_goes_back_with_the_rest(shop: Shop) -> None:
    shop.shipped(is_tax_ours=True)
    assert shop.payment().captured.minor == OURS + 280
    assert isinstance(drive(shop, shop.amazon, pay_back(OURS + 280, is_whole=True)), Done)
    assert shop.refunds == [(ID, OURS + 280)]


def test_an_order_that_was_not_charged_is_not_refunded(shop: Shop) -> None:
    shop.order()
    said = shop.amazon.refund(pay_back())
    assert isinstance(said, Permanent)
    assert said.code == "not_charged"
    assert "create_feed" not in shop.asked


def test_beside_another_refunds_feed_none_is_sent_unless_the_shop_says_so(shop: Shop) -> None:
    shop.shipped(habits={"finances_lag_s": 3600})
    shop.shipped(OTHER)
    mine = pay_back()
    theirs = pay_back(order_id=OTHER, **keys("refund", 2))
    assert isinstance(shop.amazon.refund(theirs), Pending)
    held = shop.amazon.refund(mine)
    assert isinstance(held, Unknown)
    assert "Seller Central" in held.reason
    assert shop.refunds == [(OTHER, OURS)]
    busy = shop.connect(concurrent_refunds="yes")
    assert isinstance(drive(shop, busy, mine), Done)
    assert shop.refunds == [(OTHER, OURS), (ID, OURS)]


def test_beside_a_refused_feed_of_another_refund_it_goes(shop: Shop) -> None:
    shop.shipped()
    shop.shipped(OTHER, feed_refusal="18028")
    shop.amazon.refund(pay_back(order_id=OTHER, **keys("refund", 2)))
    assert isinstance(shop.amazon.refund(pay_back()), Pending)
    assert shop.refunds == [(ID, OURS)]


def test_packed_reports_are_read(shop: Shop) -> None:
    shop.shipped(feed_refusal="18028", habits={"gzips_reports": True})
    assert isinstance(drive(shop, shop.amazon, pay_back()), Permanent)


def test_two_equal_feeds_would_have_paid_twice(shop: Shop) -> None:
    """What all the looking is for: the practice vendor, like Amazon, stops nobody."""
    shop.shipped()
    busy = shop.connect(concurrent_refunds="yes")
    for _ in range(2):
        assert isinstance(busy.refund(pay_back()), Pending)
    assert shop.refunds == [(ID, OURS)] * 2


# ---------------------------------------------------------------- polling


def readings(events: list[PolledEvent]) -> list[Any]:
    return [AmazonInbound().read_event(event.topic, event.body) for event in events]


@pytest.mark.parametrize("has_queue", [True, False])
def test_a_buyers_wish_is_heard_once_by_either_way(shop: Shop, has_queue: bool) -> None:
    shop.order()
    shop.settle(order=ID, event="buyer_request", reason="changed my mind")
    shop.later(minutes=3)
    if not has_queue:
        shop.amazon = shop.connect(queue_url="")
    events, cursor = shop.poll_all()
    assert [(e.source_event_id, e.topic) for e in events] == [(f"cancel-requested:{ID}", CANCEL_REQUESTED)]
    (reading,) = readings(events)
    assert isinstance(reading, CancellationRequested)
    assert (reading.order, reading.requested_by, reading.lines) == (OrderRef(NAME, ID), "amazon buyer", ())
    shop.later(minutes=10)
    again, _ = shop.poll_all(cursor)
    assert {e.source_event_id for e in again} <= {events[0].source_event_id}


def test_a_cancel_elsewhere_and_a_refund_elsewhere_are_heard(shop: Shop) -> None:
    shop.order()
    shop.shipped(OTHER)
    shop.settle(order=ID, event="buyer_cancel")
    shop.settle(order=OTHER, event="refund", amount="5.00")
    shop.later(minutes=3)
    events, _ = shop.poll_all()
    assert sorted(e.topic for e in events) == [CANCELLED, REFUNDED]
    assert sorted(map(repr, readings(events))) == sorted(
        map(
            repr,
            [
                OrderCancelledElsewhere(OrderRef(NAME, ID)),
                PaymentRefundsChanged(NAME, OTHER, OrderRef(NAME, OTHER)),
            ],
        )
    )


def test_messages_are_deleted_only_by_the_look_after(shop: Shop) -> None:
    shop.order()
    shop.settle(order=ID, event="buyer_request")
    first = shop.amazon.poll("", shop.now)
    assert isinstance(first, Polled)
    assert len(first.events) == 1
    assert "delete_message" not in shop.asked
    # The transaction that stores them is lost: the same look again brings the same news once the message is visible.
    shop.later(minutes=11)
    again = shop.amazon.poll("", shop.now)
    assert isinstance(again, Polled)
    assert again.events == first.events
    third = shop.amazon.poll(again.cursor, shop.now)
    assert isinstance(third, Polled)
    assert third.events == ()
    assert shop.asked.count("delete_message") == len(read_cursor(again.cursor, shop.now).handles)
    shop.later(days=1)
    assert shop.amazon.poll(replace(read_cursor("", shop.now)).text, shop.now) == shop.amazon.poll(
        "", shop.now
    )


def test_a_lost_delete_is_made_again(shop: Shop) -> None:
    shop.order()
    shop.settle(order=ID, event="buyer_request")
    first = shop.amazon.poll("", shop.now)
    assert isinstance(first, Polled)
    shop.fault("delete_message")
    with pytest.raises(MaybeSentError):
        shop.amazon.poll(first.cursor, shop.now)
    events, _ = shop.poll_all(first.cursor)
    assert {e.source_event_id for e in events} <= {first.events[0].source_event_id}


def test_copies_and_disorder_are_one_event(shop: Shop) -> None:
    shop.order(habits={"notification_copies": 3, "newest_first": True})
    shop.settle(order=ID, event="buyer_request")
    events, _ = shop.poll_all()
    assert [e.source_event_id for e in events] == [f"cancel-requested:{ID}"]


def test_our_own_refund_is_heard_by_both_ways_as_one(shop: Shop) -> None:
    shop.shipped()
    assert isinstance(drive(shop, shop.amazon, pay_back()), Done)
    events, _ = shop.poll_all()
    assert [e.topic for e in events] == [REFUNDED]
    assert UNREADABLE not in {e.topic for e in events}


def test_orders_that_amazon_fulfils_bring_no_news(shop: Shop) -> None:
    shop.order(fulfilled_by="AMAZON")
    shop.settle(order=ID, event="buyer_cancel")
    shop.later(minutes=3)
    events, _ = shop.poll_all()
    assert events == []


def test_many_orders_come_page_by_page(shop: Shop) -> None:
    shop.amazon = shop.connect(queue_url="")
    orders = [
        {"id": f"111-0000000-{n:07}", "items": [MUGS], "buyer_cancel": "changed my mind"} for n in range(120)
    ]
    shop.world.seed({NAME: {"orders": orders}})
    shop.later(minutes=3)
    events, _ = shop.poll_all()
    assert len({e.source_event_id for e in events}) == 120
    assert shop.asked.count("search_orders") == 2


def test_a_page_token_that_is_too_old_begins_the_window_anew(shop: Shop) -> None:
    shop.amazon = shop.connect(queue_url="")
    orders = [{"id": f"111-0000000-{n:07}", "items": [MUGS], "buyer_cancel": "x"} for n in range(120)]
    shop.world.seed({NAME: {"orders": orders}})
    shop.later(minutes=3)
    first = shop.amazon.poll("", shop.now)
    assert isinstance(first, Polled)
    shop.later(hours=30)
    events, _ = shop.poll_all(first.cursor)
    assert len({e.source_event_id for e in events}) == 120


def test_wrong_queue_keys_are_the_houses_fault(shop: Shop) -> None:
    shop.amazon = shop.connect(aws_secret_access_key=Secret("another-secret-key"))
    said = shop.amazon.poll("", shop.now)
    assert isinstance(said, Retryable)
    assert said.code == "unauthorised"


@pytest.mark.parametrize("operation", ["receive_message", "search_orders", "list_transactions"])
@pytest.mark.parametrize("trouble", ["429", "500 before", "HTML with 200", "bad credentials"])
def test_a_look_that_fails_moves_nothing(shop: Shop, operation: str, trouble: str) -> None:
    shop.order()
    shop.settle(order=ID, event="buyer_request")
    shop.later(minutes=3)
    shop.fault(operation, **TROUBLE[trouble])
    cursor, kept, failures = "", set(), 0
    for _ in range(20):
        found = shop.amazon.poll(cursor, shop.now)
        if not isinstance(found, Polled):
            assert isinstance(found, Retryable | Unknown)
            failures += 1
            continue
        kept |= {e.source_event_id for e in found.events}
        cursor = found.cursor
        if not found.has_more:
            break
    # Amazon's 403 about a token is answered by a fresh one at once.
    assert failures == (0 if trouble == "bad credentials" and operation != "receive_message" else 1)
    assert kept == {f"cancel-requested:{ID}"}
