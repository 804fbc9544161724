"""Etsy's connector with the practice vendor: a person acts in Shop Manager, and we see it, once, whatever is in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Polled, PolledEvent
from refundflow.connectors.etsy import SHOP_MANAGER, Credentials, Etsy, EtsyInbound, build
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundStatus,
    TakesBack,
)
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import etsy as practice
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError
from tests.support.world_http import VENDORS, MemoryVault, WorldWire

NAME = "etsy"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RECEIPT = 2001
MUGS = {"id": 11, "sku": "MUG", "title": "Mug", "quantity": 2, "unit_minor": 1500}
PLATE = {"id": 12, "sku": "PLATE", "title": "Plate", "quantity": 1, "unit_minor": 690}
TOTAL = 4190
CREDENTIALS = Credentials(
    keystring=practice.KEYSTRING,
    shared_secret=Secret(practice.SHARED_SECRET),
    refresh_token=Secret(practice.REFRESH_TOKEN),
    shop_id=str(practice.SHOP_ID),
    webhook_secret=Secret(practice.WEBHOOK_SECRET),
    base_url=f"{VENDORS}/{NAME}",
    token_url=f"{VENDORS}/{NAME}/v3/public/oauth/token",
)


def usd(minor: int) -> Money:
    return Money(minor, "USD")


class Shop:
    """A practice Etsy, its book, and the connector on it with a clock that tests can move."""

    def __init__(self) -> None:
        self.now = NOW
        self.deliveries: list[Delivery] = []
        self.world = World([practice.Etsy], clock=lambda: self.now, send=self._take)
        self.vault = MemoryVault()
        self.etsy = self.connect()
        self.inbound = EtsyInbound(CREDENTIALS.webhook_secret, CREDENTIALS.shop_id)
        self.cursor = ""

    def connect(self, **changes: Any) -> Etsy:
        """The connector as another worker would build it."""
        wire = WorldWire(self.world, self.vault)
        return build(replace(CREDENTIALS, **changes), wire, lambda: self.now)

    def _take(self, _url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.deliveries.append(Delivery({n.lower(): v for n, v in headers.items()}, body))
        return 200

    def receipts(self, *described: Record, **more: Any) -> list[Record]:
        made = self.world.seed({NAME: {"receipts": list(described), **more}})[NAME]
        rows: list[Record] = made["receipts"]
        return rows

    def receipt(self, number: int = RECEIPT, habits: Record | None = None, **more: Any) -> Record:
        """A paid receipt over 41.90: 36.90 of goods and 5.00 of shipping, an hour old."""
        created = int((self.now - timedelta(hours=1)).timestamp())
        # Each transaction has an id of its own.
        lines = [{**line, "id": number * 100 + int(line["id"])} for line in more.pop("lines", [MUGS, PLATE])]
        described = {"id": number, "lines": lines, "shipping_minor": 500, "created": created, **more}
        return self.receipts(described, habits=habits or {})[0]

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, operation: str, kind: Kind, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def order(self, number: int = RECEIPT) -> OrderFacts:
        found = self.etsy.read_order(OrderRef(NAME, str(number)))
        assert isinstance(found, OrderFacts), found
        return found

    def payment(self, made: Record) -> PaymentFacts:
        found = self.etsy.read_payment(str(made["id"]), str(made["payment_id"]))
        assert isinstance(found, PaymentFacts), found
        return found

    def look(self) -> list[PolledEvent]:
        """One look as the house makes it: on and on while there is more, the cursor kept in between."""
        events: list[PolledEvent] = []
        for _ in range(200):
            found = self.etsy.poll(self.cursor, self.now)
            assert isinstance(found, Polled), found
            events += found.events
            self.cursor = found.cursor
            if not found.has_more:
                return events
        raise AssertionError("the look does not end")

    def look_after(self, **later: float) -> list[PolledEvent]:
        self.now += timedelta(**later)
        return self.look()

    def calls(self, operation: str) -> int:
        return sum(each["operation"] == operation for each in self.world.calls)

    def book(self) -> list[tuple[str, int | None]]:
        return [(each["effect"], each["amount_minor"]) for each in self.world.vendor(NAME).book.lines()]


def ids(events: list[PolledEvent]) -> list[str]:
    return [event.source_event_id for event in events]


def cancel_of(number: int) -> str:
    return f"{practice.SHOP_ID}:{number}:canceled"


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


# ---------------------------------------------------------------- reading orders


def test_the_check_needs_the_key_the_token_its_scope_and_the_shop(shop: Shop) -> None:
    assert shop.etsy.check().is_ok
    shop.receipt()
    assert shop.etsy.check().detail == f"shop {practice.SHOP_ID}, 1 orders"
    assert not shop.connect(shop_id="999").check().is_ok
    assert not shop.connect(shared_secret=Secret("another")).check().is_ok
    shop.receipts(scopes=["listings_r"])
    told = shop.etsy.check()
    assert not told.is_ok
    assert "transactions_r" in told.detail


def test_a_paid_order_is_read_and_only_a_person_takes_it_back(shop: Shop) -> None:
    made = shop.receipt(name="Ada Lovelace", email="ada@customers.example")
    facts = shop.order()

    assert (facts.number, facts.total, facts.customer_name) == (str(RECEIPT), usd(TOTAL), "Ada Lovelace")
    assert facts.created_at == NOW - timedelta(hours=1)
    assert facts.email == "", "not granted"
    assert [(x.line_id, x.sku, x.quantity, x.unfulfilled, x.refundable, x.unit) for x in facts.lines] == [
        ("200111", "MUG", 2, 2, 2, usd(1500)),
        ("200112", "PLATE", 1, 1, 1, usd(690)),
    ]
    [payment] = facts.payments
    assert (payment.transaction_id, payment.gateway, payment.is_captured, payment.amount) == (
        str(made["payment_id"]),
        "etsy",
        True,
        usd(TOTAL),
    )
    assert facts.cancelled_at is None
    assert (facts.cancels, facts.cancels_lines) == (TakesBack.PERSON, TakesBack.PERSON)
    assert shop.book() == []


@pytest.mark.parametrize("ref", [OrderRef(NAME, "2001"), OrderRef(NAME, number="#2001")])
def test_an_order_is_found_by_its_number_which_is_its_id(shop: Shop, ref: OrderRef) -> None:
    shop.receipt()
    found = shop.etsy.read_order(ref)
    assert isinstance(found, OrderFacts)
    assert found.order_id == "2001"


@pytest.mark.parametrize("number", ["9999", "0", "", "20 01", "2001/payments", "x"])
def test_an_order_that_is_not_there_is_not_found(shop: Shop, number: str) -> None:
    shop.receipt()
    assert isinstance(shop.etsy.read_order(OrderRef(NAME, number=number)), NotFound)


def test_the_buyers_address_is_read_where_etsy_grants_it(shop: Shop) -> None:
    shop.receipt(email="ada@customers.example", habits={"is_email_granted": True})
    assert shop.order().email == "ada@customers.example"


def test_a_line_without_sku_is_named_by_listing_and_product(shop: Shop) -> None:
    shop.receipt(lines=[{"id": 11, "listing_id": 77, "product_id": 88, "quantity": 1, "unit_minor": 100}])
    assert shop.order().lines[0].sku == "77-88"


def test_what_left_cannot_be_cancelled(shop: Shop) -> None:
    shop.receipt(is_shipped=True)
    assert shop.order().is_fulfilled


def test_an_unpaid_order_has_no_payment_and_its_cancel_no_refund(shop: Shop) -> None:
    shop.receipt(is_paid=False)
    assert shop.order().payments == ()
    shop.settle(receipt=RECEIPT, cancel=True)
    facts = shop.order()
    assert facts.cancelled_at is not None
    assert facts.payments == ()
    assert shop.book() == [("cancel_order", None)]


@pytest.mark.parametrize("capitalised", [False, True])
def test_a_cancelled_order_has_nothing_to_cancel_any_more(shop: Shop, capitalised: bool) -> None:
    shop.receipt(habits={"is_status_capitalised": capitalised})
    shop.settle(receipt=RECEIPT, cancel=True)
    facts = shop.order()
    assert facts.cancelled_at == NOW
    assert facts.unfulfilled == ()


def test_a_fully_refunded_order_counts_as_cancelled_and_a_partly_refunded_does_not(shop: Shop) -> None:
    shop.receipt()
    shop.settle(receipt=RECEIPT, refund={"lines": {"200112": 690}})
    facts = shop.order()
    assert facts.cancelled_at is None
    assert facts.unfulfilled == (LineQuantity("200111", 2),), "the plate was given back whole"
    shop.settle(receipt=RECEIPT, refund={})
    assert shop.order().cancelled_at is not None


def test_lines_are_priced_where_nothing_comes_on_top(shop: Shop) -> None:
    shop.receipt()
    shop.receipt(2002, tax_minor=200)
    wanted = (LineQuantity("200111", 1), LineQuantity("200112", 1))
    assert shop.etsy.quote_lines(shop.order(), wanted) == usd(2190)
    refused = shop.etsy.quote_lines(shop.order(), (LineQuantity("200111", 3),))
    assert isinstance(refused, Permanent)
    assert refused.code == "unknown_line"
    taxed = shop.etsy.quote_lines(shop.order(2002), (LineQuantity("200211", 1),))
    assert isinstance(taxed, Permanent)
    assert taxed.code == "not_priced"
    assert f"{SHOP_MANAGER}2002" in taxed.reason


@pytest.mark.parametrize(("currency", "divisor", "minor"), [("USD", 1000, 4190), ("JPY", 1, 4190)])
def test_amounts_keep_their_size_whatever_the_divisor(
    shop: Shop, currency: str, divisor: int, minor: int
) -> None:
    made = shop.receipt(currency=currency, divisor=divisor)
    shop.settle(receipt=RECEIPT, refund={"amount_minor": 1000, "status": "REFUNDED"})
    assert shop.order().total == Money(minor, currency)
    facts = shop.payment(made)
    assert (facts.captured, facts.refunded) == (Money(minor, currency), 1000)


# ---------------------------------------------------------------- reading payments


def test_a_payment_says_that_a_person_returns_it_at_etsy(shop: Shop) -> None:
    made = shop.receipt()
    facts = shop.payment(made)
    assert (facts.state, facts.captured, facts.refunds) == (PaymentState.CAPTURED, usd(TOTAL), ())
    assert f"{SHOP_MANAGER}{RECEIPT}" in facts.refund_refusal
    assert facts.order_number == str(RECEIPT)


def test_a_payment_is_found_without_its_order(shop: Shop) -> None:
    made = shop.receipt()
    shop.receipt(2002)
    found = shop.etsy.read_payment("", str(made["payment_id"]))
    assert isinstance(found, PaymentFacts)
    assert found.order_number == str(RECEIPT)
    assert isinstance(shop.etsy.read_payment("", "987654321"), NotFound)
    assert isinstance(shop.etsy.read_payment("2002", str(made["payment_id"])), NotFound)


@pytest.mark.parametrize("is_open_success", [True, False])
def test_a_refund_is_on_its_way_then_back_and_can_still_fail(shop: Shop, is_open_success: bool) -> None:
    made = shop.receipt(habits={"is_open_success": is_open_success})
    issued = shop.settle(receipt=RECEIPT, refund={"status": "OPEN"})["adjustment"]

    def standing() -> tuple[RefundStatus, int]:
        facts = shop.payment(made)
        [refund] = facts.refunds
        assert (refund.reference, refund.amount) == (str(issued), usd(TOTAL))
        return refund.status, facts.refunded

    assert standing() == (RefundStatus.PENDING, TOTAL)
    shop.settle(adjustment=issued, status="REFUNDED")
    assert standing() == (RefundStatus.SUCCEEDED, TOTAL)
    shop.settle(adjustment=issued, status="REFUND_FAILED")
    assert standing() == (RefundStatus.FAILED, 0)
    assert "REFUND_FAILED" in shop.payment(made).refund_refusal


def test_a_cancel_whose_refund_does_not_show_yet_is_waited_for(shop: Shop) -> None:
    """Else a person would be told to give back what Etsy gives back already."""
    made = shop.receipt(habits={"adjustments_delay_s": 600})
    shop.settle(receipt=RECEIPT, cancel=True)

    def read() -> Any:
        return shop.etsy.read_payment(str(RECEIPT), str(made["payment_id"]))

    assert read() == Retryable(
        "unavailable",
        "order 2001 was cancelled at Etsy a moment ago, and its refund does not show yet",
        60.0,
    )
    shop.now += timedelta(minutes=11)
    facts = read()
    assert isinstance(facts, PaymentFacts)
    assert facts.refunded == TOTAL


def test_a_cancel_without_a_refund_is_shown_to_a_person_in_the_end(shop: Shop) -> None:
    made = shop.receipt()
    shop.settle(receipt=RECEIPT, cancel=True, refund=None)
    shop.now += timedelta(hours=2)
    facts = shop.payment(made)
    assert (facts.captured, facts.refunded) == (usd(TOTAL), 0)
    assert "canceled at Etsy already" in facts.refund_refusal


# ---------------------------------------------------------------- polling


def test_what_was_cancelled_before_the_last_day_is_not_told(shop: Shop) -> None:
    old = int((NOW - timedelta(days=40)).timestamp())
    shop.now = NOW - timedelta(days=3)
    shop.receipt(2001, created=old)
    shop.settle(receipt=2001, cancel=True)
    shop.now = NOW - timedelta(hours=3)
    shop.receipt(2002, created=old)
    shop.settle(receipt=2002, cancel=True)
    shop.now = NOW
    told = shop.look()
    assert cancel_of(2002) in ids(told)
    assert cancel_of(2001) not in ids(told)
    assert shop.look_after(days=1, minutes=5) == []


def test_a_cancel_and_its_refund_are_told_once_each(shop: Shop) -> None:
    made = shop.receipt()
    assert shop.look() == []
    shop.settle(receipt=RECEIPT, cancel=True)
    issued = shop.world.vendor(NAME).book.lines("refund")[0]["id"]

    told = shop.look_after(minutes=5)
    assert ids(told) == [cancel_of(RECEIPT)]
    assert shop.inbound.read_event(told[0].topic, told[0].body) == OrderCancelledElsewhere(
        OrderRef(NAME, str(RECEIPT))
    )
    told = shop.look_after(minutes=30)
    assert [event.topic for event in told] == ["refund"]
    assert told[0].source_event_id.startswith(f"payment_adjustment:{issued}:")
    assert shop.inbound.read_event(told[0].topic, told[0].body) == PaymentRefundsChanged(
        NAME, str(made["payment_id"]), OrderRef(NAME, str(RECEIPT))
    )
    # The sweep's windows overlap by an hour: the same news has the same id.
    assert {*ids(shop.look_after(minutes=30)), *ids(shop.look_after(hours=2))} <= {*ids(told)}
    assert shop.look_after(minutes=30) == []


def test_a_quiet_look_is_one_call(shop: Shop) -> None:
    shop.look()
    before = len(shop.world.calls)
    shop.look_after(minutes=5)
    assert len(shop.world.calls) - before == 1


def test_a_cancel_that_changes_no_time_is_news_all_the_same(shop: Shop) -> None:
    for number in range(2001, 2011):
        shop.receipt(number, is_paid=False)
        shop.settle(receipt=number, cancel=True)
    shop.look()
    shop.now += timedelta(days=2)
    old = int((NOW - timedelta(hours=5)).timestamp())
    shop.receipt(3000, is_paid=False, created=old)
    etsy = shop.world.vendor(NAME)
    assert isinstance(etsy, practice.Etsy)
    etsy.receipts[3000].is_canceled = True  # and `updated` stays what it was
    assert ids(shop.look()) == [cancel_of(3000)]


@pytest.mark.parametrize("is_resolved", [True, False])
@pytest.mark.parametrize("newest_first", [True, False])
def test_the_ledger_leads_to_every_refund(shop: Shop, is_resolved: bool, newest_first: bool) -> None:
    habits = {"is_refund_entry_resolved": is_resolved, "is_ledger_newest_first": newest_first}
    made = shop.receipt(habits=habits)
    shop.look()
    first = shop.settle(receipt=RECEIPT, refund={"amount_minor": 500, "status": "REFUNDED"})["adjustment"]
    told = shop.look_after(minutes=31)
    assert ids(told) == [f"payment_adjustment:{first}:REFUNDED"]
    assert shop.inbound.read_event(told[0].topic, told[0].body) == PaymentRefundsChanged(
        NAME, str(made["payment_id"]), OrderRef(NAME, str(RECEIPT))
    )
    shop.now += timedelta(hours=3)
    shop.settle(adjustment=first, status="REFUND_FAILED")
    assert f"payment_adjustment:{first}:REFUND_FAILED" in ids(shop.look_after(minutes=31))


def test_a_refund_before_shipping_that_the_ledger_never_shows_is_found_by_the_daily_round(shop: Shop) -> None:
    shop.receipt(habits={"posts_at_shipping": True})
    shop.look()
    issued = shop.settle(receipt=RECEIPT, refund={"amount_minor": 500, "status": "REFUNDED"})["adjustment"]
    assert shop.look_after(hours=23) == []
    assert ids(shop.look_after(hours=2)) == [f"payment_adjustment:{issued}:REFUNDED"]


def test_a_full_refund_without_a_cancel_is_told_as_a_cancel_by_the_daily_round(shop: Shop) -> None:
    shop.receipt()
    shop.look()
    shop.settle(receipt=RECEIPT, refund={"status": "REFUNDED"})
    told = shop.look_after(hours=25)
    assert cancel_of(RECEIPT) in ids(told)
    assert shop.order().cancelled_at is not None


@pytest.mark.parametrize("days", [1, 9, 45])
def test_missed_days_are_made_good(shop: Shop, days: int) -> None:
    """The windows begin where the last look ended, not some time before now, and none is longer than the ledger allows."""
    shop.receipt(2001)
    shop.receipt(2002)
    shop.look()
    shop.now += timedelta(hours=1)
    shop.settle(receipt=2001, cancel=True)
    issued = shop.settle(receipt=2002, refund={"amount_minor": 500, "status": "REFUNDED"})["adjustment"]
    told = ids(shop.look_after(days=days))
    assert cancel_of(2001) in told
    assert f"payment_adjustment:{issued}:REFUNDED" in told


def test_more_cancels_than_a_page_are_all_told(shop: Shop) -> None:
    shop.look()
    for number in range(3001, 3231):
        shop.receipt(number, is_paid=False)
        shop.settle(receipt=number, cancel=True)
    told = ids(shop.look_after(hours=2))
    assert sorted(told) == sorted(cancel_of(number) for number in range(3001, 3231))
    assert shop.look_after(minutes=5) == []


def test_more_entries_than_a_page_are_all_read(shop: Shop) -> None:
    shop.look()
    issued = []
    for number in range(4001, 4131):
        shop.receipt(number)
        issued.append(shop.settle(receipt=number, refund={"amount_minor": 100})["adjustment"])
    told = ids(shop.look_after(minutes=40))
    assert sorted(told) == sorted(f"payment_adjustment:{each}:REFUNDED" for each in issued)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (Kind.LOST_REPLY, {}),
        (Kind.LOST_REQUEST, {}),
        (Kind.STATUS, {"status": 429, "headers": {"retry-after": "7"}}),
        (Kind.STATUS, {"status": 500}),
        (Kind.STATUS, {"status": 503}),
        (Kind.HTML, {"status": 200}),
        (Kind.REFUSE, {"code": "bad_request"}),
    ],
)
@pytest.mark.parametrize("operation", ["list_receipts", "list_ledger_entries", "get_payments"])
def test_a_look_that_breaks_off_is_made_again_and_nothing_is_lost(
    shop: Shop, operation: str, kind: Kind, more: dict[str, Any]
) -> None:
    shop.receipt()
    shop.look()
    shop.settle(receipt=RECEIPT, cancel=True)
    shop.now += timedelta(hours=1)
    shop.fault(operation, kind, **more)
    told: list[str] = []
    failures = 0
    for _ in range(10):
        try:
            found = shop.etsy.poll(shop.cursor, shop.now)
        except MaybeSentError:
            failures += 1
            continue
        if not isinstance(found, Polled):
            failures += 1
            continue
        told += ids(list(found.events))
        shop.cursor = found.cursor
        if not found.has_more:
            break
    assert failures == 1
    assert [each for each in told if each == cancel_of(RECEIPT)] == [cancel_of(RECEIPT)]
    assert len([each for each in told if each.startswith("payment_adjustment:")]) == 1


def test_a_ledger_that_fails_does_not_keep_cancels_waiting(shop: Shop) -> None:
    shop.receipt()
    shop.look()
    shop.fault("list_ledger_entries", Kind.STATUS, status=500, times=1000)
    told: list[str] = []
    for minute in range(60):
        shop.now += timedelta(minutes=1)
        if minute == 40:
            shop.settle(receipt=RECEIPT, cancel=True)
        found = shop.etsy.poll(shop.cursor, shop.now)
        if isinstance(found, Polled):
            told += ids(list(found.events))
            shop.cursor = found.cursor
    assert told == [cancel_of(RECEIPT)]


# ---------------------------------------------------------------- what is in the way


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        (Kind.STATUS, {"status": 429, "headers": {"retry-after": "7"}}, ("throttled", 7.0)),
        (Kind.STATUS, {"status": 500}, ("unavailable", None)),
        (Kind.STATUS, {"status": 504}, ("unavailable", None)),
        (Kind.HTML, {"status": 200}, None),
        (Kind.REFUSE, {"code": "insufficient_scope"}, ("unauthorised", None)),
        (Kind.REFUSE, {"code": "no_secret"}, ("unauthorised", None)),
        (Kind.REFUSE_AUTH, {"times": 2}, ("unauthorised", None)),
    ],
)
@pytest.mark.parametrize("operation", ["get_receipt", "get_receipt_payments"])
def test_an_order_that_cannot_be_read_is_read_later(
    shop: Shop, operation: str, kind: Kind, more: dict[str, Any], expected: tuple[str, float | None] | None
) -> None:
    shop.receipt()
    shop.fault(operation, kind, **more)
    said = shop.etsy.read_order(OrderRef(NAME, str(RECEIPT)))
    if expected is None:
        assert isinstance(said, Unknown)
    else:
        assert isinstance(said, Retryable)
        assert (said.code, said.after_s) == expected
    assert isinstance(shop.etsy.read_order(OrderRef(NAME, str(RECEIPT))), OrderFacts)


def test_the_days_limit_is_waited_for_longer(shop: Shop) -> None:
    shop.receipt()
    shop.fault("get_receipt", Kind.STATUS, status=429, code="daily")
    said = shop.etsy.read_order(OrderRef(NAME, str(RECEIPT)))
    assert said == Retryable("throttled", "Etsy's calls of a day are used up", 3600.0)


def test_a_lost_answer_to_a_read_is_told_by_the_wire(shop: Shop) -> None:
    shop.receipt()
    shop.fault("get_receipt", Kind.LOST_REPLY)
    with pytest.raises(MaybeSentError):
        shop.order()


# ---------------------------------------------------------------- tokens


def test_tokens_rotate_and_all_workers_share_them(shop: Shop) -> None:
    shop.receipt()
    shop.order()
    other = shop.connect()
    assert other.check().is_ok
    assert shop.calls("refresh_token") == 1
    for _ in range(30):
        shop.now += timedelta(days=30)  # each of these refresh tokens lives 90 days
        assert shop.etsy.check().is_ok
        assert other.check().is_ok
    assert shop.calls("refresh_token") == 31
    assert shop.vault.kept[NAME].refresh_token != practice.REFRESH_TOKEN


def test_a_token_that_ends_early_is_replaced(shop: Shop) -> None:
    shop.receipt()
    shop.order()
    shop.settle(token="expired")
    assert shop.order().order_id == str(RECEIPT)
    assert shop.calls("refresh_token") == 2


def test_a_connection_that_was_taken_away_sends_nothing_until_a_person_renews_it(shop: Shop) -> None:
    shop.receipt()
    shop.order()
    shop.settle(authorisation="revoked")
    with pytest.raises(NotSentError):
        shop.order()
    shop.settle(authorisation="granted")
    shop.vault.kept.clear()
    assert shop.connect().check().is_ok


# ---------------------------------------------------------------- webhooks


def delivered(shop: Shop, topic: str = "order.canceled") -> Delivery:
    etsy = shop.world.vendor(NAME)
    signed = etsy.sign(etsy.event_for(topic, str(RECEIPT)), "https://shop.example", practice.WEBHOOK_SECRET)
    return Delivery({n.lower(): v for n, v in signed.headers.items()}, signed.body)


@pytest.mark.parametrize(
    "habits", [{}, {"is_signature_versioned": False}, {"is_shop_id_number": True}], ids=str
)
def test_a_cancel_told_by_webhook_and_by_polling_is_one_event(shop: Shop, habits: Record) -> None:
    shop.receipt(habits=habits)
    shop.look()
    shop.settle(receipt=RECEIPT, cancel=True)
    delivery = delivered(shop)
    verified = shop.inbound.verify(delivery, shop.now)
    assert verified == Verified(cancel_of(RECEIPT), "order.canceled")
    assert shop.inbound.read_event("order.canceled", delivery.body) == OrderCancelledElsewhere(
        OrderRef(NAME, str(RECEIPT))
    )
    assert ids(shop.look_after(minutes=5)) == [cancel_of(RECEIPT)]
    assert isinstance(shop.inbound.verify(delivery, shop.now + timedelta(minutes=6)), Refused)
    other = EtsyInbound(Secret("whsec_" + "b3RoZXI="), CREDENTIALS.shop_id)
    assert isinstance(other.verify(delivery, NOW), Refused)


@pytest.mark.parametrize("topic", ["order.paid", "order.shipped", "order.delivered"])
def test_other_events_ask_nothing_of_us(shop: Shop, topic: str) -> None:
    shop.receipt()
    delivery = delivered(shop, topic)
    verified = shop.inbound.verify(delivery, shop.now)
    assert verified == Verified(delivery.headers["webhook-id"], topic)
    assert isinstance(shop.inbound.read_event(topic, delivery.body), Irrelevant)


def test_the_practice_vendors_own_deliveries_verify(shop: Shop) -> None:
    shop.receipt()
    shop.world.webhooks.subscribe(NAME, Subscription("https://shop.example/in", practice.WEBHOOK_SECRET))
    shop.settle(receipt=RECEIPT, cancel=True)
    shop.world.webhooks.close()
    assert [json.loads(each.body)["event_type"] for each in shop.deliveries] == ["order.canceled"]
    assert isinstance(shop.inbound.verify(shop.deliveries[0], shop.now), Verified)
