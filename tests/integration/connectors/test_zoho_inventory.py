"""Zoho Inventory's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.zoho_inventory import Credentials, ZohoInbound, ZohoInventory, build
from refundflow.domain.commands import CancelOrder, CreditNote, RecordRefund, Restock, VoidInvoice
from refundflow.domain.facts import (
    InvoiceFacts,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderRef,
    RefundedBy,
    TakesBack,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import CancellationRequested, Delivery, Irrelevant, Refused, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.sandbox import zoho_inventory as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "zoho-inventory"
CASE = "RF-00K3ZQ4M7ABCDEF"
SECRET = "a-long-random-practice-secret"
TWO_LINES = [
    {"sku": "SHEET", "title": "Acrylic sheet", "quantity": 2, "unit_minor": 2550, "stock": 10},
    {"sku": "FRAME", "title": "Frame", "quantity": 1, "unit_minor": 1000, "stock": 5},
]
SHIPPED = [{"sku": "SHEET", "title": "Sheet", "quantity": 3, "unit_minor": 2550, "stock": 7, "shipped": 3}]
TOTAL = 6100
PAID = [{"gateway": "stripe", "amount_minor": TOTAL, "transaction": "pi_1"}]
ALL_UNITS = (ItemQuantity("SHEET", 2), ItemQuantity("FRAME", 1))


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


class Shop:
    """A practice Zoho, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.deliveries: list[Delivery] = []
        self.world = World([double.ZohoInventory], clock=lambda: self.now, send=self.take)
        self.wire = WorldWire(self.world)
        self.zoho: ZohoInventory = build(
            Credentials(
                client_id=double.CLIENT_ID,
                client_secret=Secret(double.CLIENT_SECRET),
                refresh_token=Secret(double.REFRESH_TOKEN),
                organization_id=double.ORGANIZATION_ID,
                base_url=f"{VENDORS}/{NAME}/inventory/v1",
                accounts_url=f"{VENDORS}/{NAME}",
            ),
            self.wire,
            lambda: self.now.date(),
        )

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append(Delivery({name.lower(): value for name, value in headers.items()}, body))
        return 200

    def order(self, lines: Any = TWO_LINES, *, number: str = "SO-1042", **more: Any) -> Record:
        settings = more.pop("settings", {})
        more.setdefault("reference", "#1042")
        described = {"settings": settings, "orders": [{"lines": lines, "number": number, **more}]}
        made: Record = self.world.seed({NAME: described})[NAME]["orders"][0]
        return made

    def invoiced(self, **more: Any) -> Record:
        return self.order(**{"invoice": {"number": "INV-1042"}, "payments": PAID, **more})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def lose(self, operation: str, *, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def book(self, effect: str) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.world.vendor(NAME).book.lines()]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def stock(self, sku: str = "SHEET") -> tuple[int, int]:
        """What is on hand, and what of it can be sold."""
        found = self.settle(item=sku)
        return found["on_hand"], found["available"]

    def facts(self, order: Record) -> OrderFacts:
        found = self.zoho.read_order(OrderRef(NAME, order["id"]))
        assert isinstance(found, OrderFacts)
        return found

    def invoice(self, number: str = "INV-1042") -> InvoiceFacts:
        found = self.zoho.read_invoice(number)
        assert isinstance(found, InvoiceFacts)
        return found


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def keys(kind: str, number: int = 1) -> dict[str, Any]:
    step_key = StepKey(f"{CASE}.{kind}.{number}")
    return {"step_key": step_key, "key": wire_key(step_key, 1)}


def cancel(order: Record, **changes: Any) -> CancelOrder:
    return CancelOrder(
        **{
            **keys("cancel_order"),
            "order_id": order["id"],
            "reason": "customer",
            "restock": True,
            "order_number": "#1042",
            **changes,
        }
    )


def send_back(order: Record, units: int = 2, **changes: Any) -> Restock:
    return Restock(
        **{
            **keys("restock"),
            "order_id": order["id"],
            "currency": "EUR",
            "lines": (LineQuantity("501", units),),
            "items": (ItemQuantity("SHEET", units),),
            "is_return": True,
            "order_number": "#1042",
            **changes,
        }
    )


def credit(invoice: InvoiceFacts, minor: int = TOTAL, **changes: Any) -> CreditNote:
    return CreditNote(
        **{
            **keys("post_ledger"),
            "invoice": invoice,
            "amount": eur(minor),
            "number": f"CN-{CASE}-1",
            "memo": "Order #1042 cancelled",
            **changes,
        }
    )


def record(note_id: str, minor: int = TOTAL, number: int = 2, **changes: Any) -> RecordRefund:
    return RecordRefund(
        **{
            **keys("post_ledger", number),
            "amount": eur(minor),
            "account_code": double.CLEARING_ACCOUNT_ID,
            "credit_note_id": note_id,
            "refund_reference": "re_3Abc",
            **changes,
        }
    )


def reference_of(outcome: Outcome | NotFound) -> str:
    assert isinstance(outcome, Done | AlreadyDone), outcome
    return outcome.reference


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("number", ["#1042", "1042", " 1042 "])
@pytest.mark.parametrize("reference", ["#1042", "1042"])
def test_an_order_is_found_by_the_shops_number(shop: Shop, number: str, reference: str) -> None:
    order = shop.order(reference=reference)
    shop.order([TWO_LINES[0]], number="SO-7", reference="10421")
    facts = shop.zoho.read_order(OrderRef(NAME, number=number))
    assert isinstance(facts, OrderFacts)
    assert (facts.order_id, facts.number, facts.total) == (order["id"], reference, eur(TOTAL))
    assert facts.payments == ()
    assert [(x.sku, x.quantity, x.unfulfilled, x.unit) for x in facts.lines] == [
        ("SHEET", 2, 2, eur(2550)),
        ("FRAME", 1, 1, eur(1000)),
    ]
    assert (facts.cancels, facts.cancel_refusal, facts.cancels_lines) == (
        TakesBack.CALL,
        "",
        TakesBack.PERSON,
    )
    assert facts.email == "ada@customers.example"


def test_an_order_is_found_by_its_own_number_where_no_reference_fits(shop: Shop) -> None:
    order = shop.order(reference="elsewhere")
    facts = shop.zoho.read_order(OrderRef(NAME, number="SO-1042"))
    assert isinstance(facts, OrderFacts)
    assert facts.order_id == order["id"]


def test_a_filter_that_is_ignored_finds_no_strange_order(shop: Shop) -> None:
    shop.order(reference="#9", settings={"is_order_filtered": False})
    assert isinstance(shop.zoho.read_order(OrderRef(NAME, number="#1042")), NotFound)
    order = shop.order([TWO_LINES[0]], number="SO-2")
    facts = shop.zoho.read_order(OrderRef(NAME, number="#1042"))
    assert isinstance(facts, OrderFacts)
    assert facts.order_id == order["id"]


def test_a_number_that_two_orders_have_is_ambiguous(shop: Shop) -> None:
    shop.order()
    shop.order([TWO_LINES[0]], number="SO-2", reference="1042")
    found = shop.zoho.read_order(OrderRef(NAME, number="#1042"))
    assert isinstance(found, Permanent)
    assert found.code == "ambiguous"
    assert "SO-2" in found.reason
    assert "SO-1042" in found.reason


def test_what_is_not_there_is_not_found(shop: Shop) -> None:
    assert isinstance(shop.zoho.read_order(OrderRef(NAME, "4600000000000000001")), NotFound)
    assert isinstance(shop.zoho.read_order(OrderRef(NAME, number="#1")), NotFound)
    assert isinstance(shop.zoho.read_invoice("INV-1"), NotFound)


@pytest.mark.parametrize(
    ("_case", "more", "cancels", "words"),
    [
        ("fresh", {}, TakesBack.CALL, ""),
        ("draft", {"status": "draft"}, TakesBack.CALL, ""),
        ("packed", {"lines": [{**TWO_LINES[0], "packed": 1}]}, TakesBack.PERSON, "packed (PKG-"),
        ("shipped", {"lines": [{**TWO_LINES[0], "shipped": 1}]}, TakesBack.PERSON, "shipped"),
        ("closed", {"status": "closed"}, TakesBack.PERSON, "closed"),
        ("paid", {"invoice": {"number": "INV-1042"}, "payments": PAID}, TakesBack.REFUND, ""),
        ("not paid", {"invoice": {"number": "INV-1042"}}, TakesBack.PERSON, "void that invoice"),
        (
            "paid in part",
            {"invoice": True, "payments": [{"amount_minor": 1000}]},
            TakesBack.PERSON,
            "paid in part",
        ),
        ("draft invoice", {"invoice": {"status": "draft"}}, TakesBack.PERSON, "draft invoice"),
        ("void invoice", {"invoice": {"status": "void"}}, TakesBack.CALL, ""),
    ],
)
def test_what_can_be_done_is_told_and_the_vendor_agrees(
    shop: Shop, _case: str, more: Record, cancels: TakesBack, words: str
) -> None:
    order = shop.order(**more)
    facts = shop.facts(order)
    assert facts.cancels is cancels
    assert bool(facts.cancel_refusal) is bool(words)
    assert words in facts.cancel_refusal
    outcome = shop.zoho.cancel_order(cancel(order))
    assert isinstance(outcome, Done if cancels is TakesBack.CALL else Permanent)
    assert len(shop.book("cancel_order")) == (1 if cancels is TakesBack.CALL else 0)
    if cancels is not TakesBack.CALL:
        assert "void_sales_order" not in shop.asked


def test_a_quote_is_the_lines_share(shop: Shop) -> None:
    order = shop.order(shipping_minor=500)
    facts = shop.facts(order)
    assert facts.total == eur(TOTAL + 500)
    line = order["lines"][0]["id"]
    assert shop.zoho.quote_lines(facts, (LineQuantity(line, 1),)) == eur(2550)
    everything = tuple(LineQuantity(x["id"], n) for x, n in zip(order["lines"], (2, 1), strict=True))
    assert shop.zoho.quote_lines(facts, everything) == eur(TOTAL)


# ---------------------------------------------------------------- cancelling


def test_a_void_frees_the_stock_once_and_the_restock_proves_it(shop: Shop) -> None:
    order = shop.order()
    assert shop.stock() == (10, 8)
    assert shop.zoho.cancel_order(cancel(order)) == Done(order["id"])
    assert shop.zoho.cancel_order(cancel(order)) == AlreadyDone(order["id"])
    assert shop.zoho.find_cancel_order(cancel(order)) == Done(order["id"])
    assert shop.stock() == (10, 10)
    carried = send_back(order, is_return=False, carried_by=f"{CASE}.cancel_order.1")
    assert reference_of(shop.zoho.restock(carried)) == order["id"]
    assert reference_of(shop.zoho.find_restock(carried)) == order["id"]
    assert shop.effects == ["cancel_order", "restock", "restock"]
    facts = shop.facts(order)
    assert facts.cancelled_at == shop.now


def test_a_restock_that_a_cancel_carries_waits_for_the_cancel(shop: Shop) -> None:
    order = shop.order()
    carried = send_back(order, is_return=False, carried_by=f"{CASE}.cancel_order.1")
    assert isinstance(shop.zoho.restock(carried), Retryable)
    assert isinstance(shop.zoho.find_restock(carried), NotFound)
    assert shop.effects == []


def test_a_void_whose_reply_is_lost_is_found_and_not_sent_again(shop: Shop) -> None:
    order = shop.order()
    shop.lose("void_sales_order")
    with pytest.raises(MaybeSentError):
        shop.zoho.cancel_order(cancel(order))
    assert shop.zoho.find_cancel_order(cancel(order)) == Done(order["id"])
    assert shop.zoho.cancel_order(cancel(order)) == AlreadyDone(order["id"])
    assert shop.asked.count("void_sales_order") == 1
    assert len(shop.book("cancel_order")) == 1


def test_a_void_that_never_arrived_is_not_found_and_sent_again(shop: Shop) -> None:
    order = shop.order()
    shop.lose("void_sales_order", kind=Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.zoho.cancel_order(cancel(order))
    found = shop.zoho.find_cancel_order(cancel(order))
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s
    assert shop.zoho.cancel_order(cancel(order)) == Done(order["id"])
    assert len(shop.book("cancel_order")) == 1


@pytest.mark.parametrize("status", [400, 200])
def test_a_refused_void_is_permanent_whatever_its_status(shop: Shop, status: int) -> None:
    order = shop.order()
    shop.lose("void_sales_order", kind=Kind.REFUSE, status=status)
    outcome = shop.zoho.cancel_order(cancel(order))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "refused"
    assert shop.effects == []


def test_somebody_voids_between_our_look_and_our_call(shop: Shop) -> None:
    order = shop.order()
    shop.lose("void_sales_order", kind=Kind.STATUS, status=502, is_after_effect=True)
    assert isinstance(shop.zoho.cancel_order(cancel(order)), Unknown)
    assert shop.zoho.cancel_order(cancel(order)) == AlreadyDone(order["id"])
    assert len(shop.book("cancel_order")) == 1


def test_a_void_that_is_undone_late_is_seen(shop: Shop) -> None:
    order = shop.order()
    shop.lose("void_sales_order", kind=Kind.LATE_FAILURE)
    assert shop.zoho.cancel_order(cancel(order)) == Done(order["id"])
    shop.world.settle(NAME, {})
    assert isinstance(shop.zoho.find_cancel_order(cancel(order)), NotFound)
    assert shop.facts(order).cancelled_at is None


# ---------------------------------------------------------------- returns


def test_a_return_is_made_and_received_and_raises_the_stock_once(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    done = reference_of(shop.zoho.restock(send_back(order)))
    assert shop.zoho.restock(send_back(order)) == AlreadyDone(done)
    assert shop.zoho.find_restock(send_back(order)) == Done(done)
    assert shop.effects == ["create_sales_return", "restock"]
    made = shop.book("create_sales_return")[0]
    assert made["target"] == {"order": order["id"], "number": f"RMA-{CASE}-1"}
    assert [(line["sku"], line["quantity"]) for line in shop.book("restock")] == [("SHEET", 2)]
    assert shop.stock() == (9, 9)
    assert not shop.facts(order).is_return_open


def test_an_owner_that_is_told_only_the_number_finds_its_order(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    command = send_back(order, order_id="")
    done = reference_of(shop.zoho.restock(command))
    assert shop.zoho.find_restock(command) == Done(done)
    assert len(shop.book("restock")) == 1


def test_an_order_platforms_own_lines_are_returned_by_their_ids(shop: Shop) -> None:
    order = shop.order([*SHIPPED, {"sku": "FRAME", "quantity": 1, "unit_minor": 5, "shipped": 1}])
    lines = (LineQuantity(order["lines"][1]["id"], 1),)
    reference_of(shop.zoho.restock(send_back(order, lines=lines, items=())))
    assert [(line["sku"], line["quantity"]) for line in shop.book("restock")] == [("FRAME", 1)]


@pytest.mark.parametrize("lost", ["create_sales_return", "receive_sales_return"])
@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST])
def test_a_return_cut_at_either_write_is_carried_on_and_not_doubled(
    shop: Shop, lost: str, kind: Kind
) -> None:
    order = shop.order(SHIPPED)
    shop.lose(lost, kind=kind)
    with pytest.raises(MaybeSentError):
        shop.zoho.restock(send_back(order))
    found = shop.zoho.find_restock(send_back(order))
    is_received = lost == "receive_sales_return" and kind is Kind.LOST_REPLY
    assert isinstance(found, Done if is_received else NotFound)
    reference_of(shop.zoho.restock(send_back(order)))
    assert shop.effects == ["create_sales_return", "restock"]
    assert shop.stock() == (9, 9)


@pytest.mark.parametrize("kept", [True, False])
def test_a_return_is_found_by_its_reason_where_zoho_gave_it_another_number(shop: Shop, kept: bool) -> None:
    order = shop.order(SHIPPED, settings={"is_return_number_kept": kept})
    shop.lose("create_sales_return")
    with pytest.raises(MaybeSentError):
        shop.zoho.restock(send_back(order))
    reference_of(shop.zoho.restock(send_back(order)))
    assert shop.effects == ["create_sales_return", "restock"]


def test_a_return_that_waits_for_approval_is_a_persons_and_then_found(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    shop.lose("create_sales_return", kind=Kind.SLOW_PENDING)
    outcome = shop.zoho.restock(send_back(order))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "not_approved"
    assert shop.facts(order).is_return_open
    shop.settle(salesreturn=shop.book("create_sales_return")[0]["id"], status="approved")
    reference_of(shop.zoho.restock(send_back(order)))
    assert shop.effects == ["create_sales_return", "restock"]


def test_units_that_came_back_in_another_return_are_refused(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    reference_of(shop.zoho.restock(send_back(order)))
    other = keys("restock", 2)
    outcome = shop.zoho.restock(send_back(order, **other))
    assert isinstance(outcome, Permanent)
    assert len(shop.book("restock")) == 1
    reference_of(shop.zoho.restock(send_back(order, units=1, **other)))
    assert [line["quantity"] for line in shop.book("restock")] == [2, 1]


@pytest.mark.parametrize(
    ("_case", "changes", "code"),
    [
        ("never shipped", {"is_return": False}, "no_call"),
        ("an article that is not on it", {"items": (ItemQuantity("LAMP", 1),)}, "not_shipped"),
        ("more than was shipped", {"items": (ItemQuantity("SHEET", 4),)}, "not_shipped"),
        ("no article", {"items": ()}, "not_shipped"),
        ("a strange place", {"location": "Warehouse 1"}, "unknown_reference"),
        ("no such order", {"order_id": "", "order_number": "#7"}, "not_found"),
    ],
)
def test_what_no_return_can_be_made_for_is_said_before_anything_is_sent(
    shop: Shop, _case: str, changes: Record, code: str
) -> None:
    order = shop.order(SHIPPED)
    outcome = shop.zoho.restock(send_back(order, **changes))
    assert isinstance(outcome, Permanent)
    assert outcome.code == code
    assert shop.effects == []


# ---------------------------------------------------------------- books


@pytest.mark.parametrize("number", ["INV-1042", "#1042", "1042", "SO-1042"])
@pytest.mark.parametrize("is_text", [True, False])
def test_an_invoice_is_found_by_its_number_or_its_orders(shop: Shop, number: str, is_text: bool) -> None:
    made = shop.invoiced(settings={"are_invoice_amounts_text": is_text})
    invoice = shop.invoice(number)
    assert invoice.invoice_id == made["invoices"][0]["id"]
    assert (invoice.state, invoice.total, invoice.due, invoice.paid, invoice.credited) == (
        InvoiceState.PAID,
        eur(TOTAL),
        eur(0),
        eur(TOTAL),
        eur(0),
    )
    assert (invoice.refunded_by, invoice.is_allocated) == (RefundedBy.NOTE, False)
    assert [(line.sku, line.quantity, line.gross) for line in invoice.lines] == [
        ("SHEET", 2, eur(5100)),
        ("FRAME", 1, eur(1000)),
    ]


def test_an_order_that_is_not_invoiced_has_no_invoice(shop: Shop) -> None:
    shop.order()
    assert isinstance(shop.zoho.read_invoice("#1042"), NotFound)


def test_an_unpaid_invoice_is_voided_once_and_then_its_order_can_be(shop: Shop) -> None:
    order = shop.invoiced(payments=[])
    command = VoidInvoice(**keys("post_ledger"), invoice=shop.invoice())
    invoice_id = order["invoices"][0]["id"]
    assert shop.zoho.void_invoice(command) == Done(invoice_id)
    assert shop.zoho.void_invoice(command) == AlreadyDone(invoice_id)
    assert shop.zoho.find_void_invoice(command) == Done(invoice_id)
    assert shop.invoice().state is InvoiceState.VOIDED
    assert shop.facts(order).cancels is TakesBack.CALL
    assert shop.zoho.cancel_order(cancel(order)) == Done(order["id"])
    assert shop.effects[:2] == ["void_invoice", "cancel_order"]


def test_a_lost_void_of_an_invoice_is_found(shop: Shop) -> None:
    shop.invoiced(payments=[])
    command = VoidInvoice(**keys("post_ledger"), invoice=shop.invoice())
    shop.lose("void_invoice")
    with pytest.raises(MaybeSentError):
        shop.zoho.void_invoice(command)
    assert shop.zoho.find_void_invoice(command) == Done(command.invoice.invoice_id)
    assert shop.effects == ["void_invoice"]


def test_an_invoice_that_was_paid_meanwhile_is_not_voided(shop: Shop) -> None:
    order = shop.invoiced(payments=[])
    command = VoidInvoice(**keys("post_ledger"), invoice=shop.invoice())
    shop.settle(invoice=order["invoices"][0]["id"], paid_minor=100)
    outcome = shop.zoho.void_invoice(command)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "has_payments"
    assert shop.effects == []


def test_a_paid_unshipped_order_is_credited_by_its_units_and_refunded(shop: Shop) -> None:
    order = shop.invoiced()
    command = credit(shop.invoice(), items=ALL_UNITS, restock=True)
    note = reference_of(shop.zoho.credit_note(command))
    assert shop.zoho.credit_note(command) == AlreadyDone(note)
    assert shop.zoho.find_credit_note(command) == Done(note)
    paid = reference_of(shop.zoho.record_refund(record(note)))
    assert shop.zoho.record_refund(record(note)) == AlreadyDone(paid)
    assert shop.zoho.find_record_refund(record(note)) == Done(paid)
    assert shop.effects == ["credit_note", "record_refund"]
    written = shop.book("credit_note")[0]
    assert (written["amount_minor"], written["reference"]) == (TOTAL, command.step_key)
    assert written["target"] == {
        "order": order["id"],
        "invoice": order["invoices"][0]["id"],
        "number": command.number,
    }
    refund = shop.book("record_refund")[0]
    assert (refund["amount_minor"], refund["reference"]) == (TOTAL, f"{CASE}.post_ledger.2")
    assert "re_3Abc" in refund["description"]


def test_the_units_of_a_note_are_tied_to_the_invoices_unshipped_lines(shop: Shop) -> None:
    shop.invoiced(settings={"is_stock_freed_by_credit": True})
    before = shop.stock("FRAME")
    reference_of(
        shop.zoho.credit_note(credit(shop.invoice(), 1000, items=(ItemQuantity("FRAME", 1),), restock=True))
    )
    assert shop.stock("FRAME") == (before[0], before[1] + 1)
    assert [(line["sku"], line["quantity"]) for line in shop.book("restock")] == [("FRAME", 1)]


def test_shipping_may_be_what_the_units_lack(shop: Shop) -> None:
    shop.invoiced(shipping_minor=500, payments=[{"amount_minor": TOTAL + 500}])
    command = credit(shop.invoice(), TOTAL + 500, items=ALL_UNITS, restock=True)
    reference_of(shop.zoho.credit_note(command))
    assert shop.book("credit_note")[0]["amount_minor"] == TOTAL + 500


@pytest.mark.parametrize(
    ("_case", "lines", "minor", "items"),
    [
        ("another amount", TWO_LINES, 999, ALL_UNITS),
        ("no units named", TWO_LINES, 1000, ()),
        ("an article that is not on it", TWO_LINES, 1000, (ItemQuantity("LAMP", 1),)),
        ("shipped", [{**TWO_LINES[0], "shipped": 2}, TWO_LINES[1]], 2550, (ItemQuantity("SHEET", 1),)),
        ("packed", [{**TWO_LINES[0], "packed": 2}, TWO_LINES[1]], 2550, (ItemQuantity("SHEET", 1),)),
    ],
)
def test_units_that_do_not_fit_become_one_line_that_moves_no_stock(
    shop: Shop, _case: str, lines: Any, minor: int, items: tuple[ItemQuantity, ...]
) -> None:
    shop.invoiced(lines=lines, settings={"is_stock_freed_by_credit": True})
    command = credit(shop.invoice(), minor, items=items)
    outcome = shop.zoho.credit_note(replace(command, restock=True))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "units_unmatched"
    assert shop.effects == []
    note = reference_of(shop.zoho.credit_note(command))
    assert shop.effects == ["credit_note"]
    assert shop.book("credit_note")[0]["amount_minor"] == minor
    reference_of(shop.zoho.record_refund(record(note, minor)))


@pytest.mark.parametrize(
    ("_case", "paid", "noted", "refunded"),
    [
        ("paid in full, credited in part", TOTAL, 1000, 1000),
        ("no payment known to Zoho", 0, TOTAL, TOTAL),
        ("paid in part, a part of it given back", 3000, 1000, 1000),
        ("paid in part, the rest forgiven", 3000, TOTAL, 3000),
    ],
)
def test_what_was_given_back_can_be_recorded_whatever_is_due(
    shop: Shop, _case: str, paid: int, noted: int, refunded: int
) -> None:
    shop.invoiced(payments=[{"amount_minor": paid}] if paid else [])
    note = reference_of(shop.zoho.credit_note(credit(shop.invoice(), noted)))
    reference_of(shop.zoho.record_refund(record(note, refunded)))
    assert [line["amount_minor"] for line in shop.book("record_refund")] == [refunded]


@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST])
def test_a_credit_note_whose_reply_is_lost_is_written_once(shop: Shop, kind: Kind) -> None:
    shop.invoiced()
    command = credit(shop.invoice())
    shop.lose("create_credit_note", kind=kind)
    with pytest.raises(MaybeSentError):
        shop.zoho.credit_note(command)
    found = shop.zoho.find_credit_note(command)
    assert isinstance(found, Done if kind is Kind.LOST_REPLY else NotFound)
    reference_of(shop.zoho.credit_note(command))
    assert shop.effects == ["credit_note"]


def test_a_note_that_begins_as_a_draft_is_opened_also_by_the_next_try(shop: Shop) -> None:
    shop.invoiced(settings={"is_note_draft": True})
    command = credit(shop.invoice())
    shop.lose("open_credit_note", kind=Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.zoho.credit_note(command)
    assert isinstance(shop.zoho.find_credit_note(command), NotFound)
    note = reference_of(shop.zoho.credit_note(command))
    assert shop.effects == ["credit_note", "open_credit_note"]
    assert shop.zoho.find_credit_note(command) == Done(note)


def test_a_note_that_somebody_voided_is_not_written_again(shop: Shop) -> None:
    shop.invoiced()
    command = credit(shop.invoice())
    note = reference_of(shop.zoho.credit_note(command))
    shop.settle(creditnote=note, status="void")
    for outcome in (shop.zoho.credit_note(command), shop.zoho.find_credit_note(command)):
        assert isinstance(outcome, Permanent)
        assert outcome.code == "voided"
    assert len(shop.book("credit_note")) == 1


def test_a_number_that_is_taken_by_another_note_is_a_persons(shop: Shop) -> None:
    shop.invoiced()
    reference_of(shop.zoho.credit_note(credit(shop.invoice(), 1000)))
    other = credit(shop.invoice(), 1000, **keys("post_ledger", 7))
    outcome = shop.zoho.credit_note(other)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "number_taken"
    assert len(shop.book("credit_note")) == 1


def test_a_void_invoice_is_not_credited(shop: Shop) -> None:
    shop.invoiced(payments=[])
    invoice = shop.invoice()
    reference_of(shop.zoho.void_invoice(VoidInvoice(**keys("post_ledger", 9), invoice=invoice)))
    outcome = shop.zoho.credit_note(credit(invoice))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "not_creditable"


@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST])
def test_a_refund_record_whose_reply_is_lost_is_written_once(shop: Shop, kind: Kind) -> None:
    shop.invoiced()
    note = reference_of(shop.zoho.credit_note(credit(shop.invoice())))
    command = record(note, 1000)
    shop.lose("create_refund", kind=kind)
    with pytest.raises(MaybeSentError):
        shop.zoho.record_refund(command)
    assert isinstance(shop.zoho.find_record_refund(command), Done if kind is Kind.LOST_REPLY else NotFound)
    reference_of(shop.zoho.record_refund(command))
    assert [line["amount_minor"] for line in shop.book("record_refund")] == [1000]


def test_two_equal_refunds_of_one_note_are_two_and_each_is_found(shop: Shop) -> None:
    shop.invoiced()
    note = reference_of(shop.zoho.credit_note(credit(shop.invoice())))
    first, second = record(note, 1000), record(note, 1000, 3, refund_reference="re_4")
    ids = {reference_of(shop.zoho.record_refund(command)) for command in (first, second, first, second)}
    assert len(ids) == 2
    assert len(shop.book("record_refund")) == 2


def test_a_note_whose_balance_is_gone_takes_no_refund(shop: Shop) -> None:
    shop.invoiced()
    note = reference_of(shop.zoho.credit_note(credit(shop.invoice(), 1000)))
    outcome = shop.zoho.record_refund(record(note, 1001))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "no_balance"
    assert shop.book("record_refund") == []


def test_a_refund_record_that_was_deleted_late_is_not_found_any_more(shop: Shop) -> None:
    shop.invoiced()
    note = reference_of(shop.zoho.credit_note(credit(shop.invoice())))
    shop.lose("create_refund", kind=Kind.LATE_FAILURE)
    reference_of(shop.zoho.record_refund(record(note)))
    shop.world.settle(NAME, {})
    assert isinstance(shop.zoho.find_record_refund(record(note)), NotFound)


def test_a_restock_that_a_note_carries_is_not_believed_before_it_can_be_seen(shop: Shop) -> None:
    order = shop.invoiced()
    carried = send_back(order, is_return=False, carried_by=f"{CASE}.post_ledger.1")
    assert isinstance(shop.zoho.restock(carried), Retryable)
    reference_of(shop.zoho.credit_note(credit(shop.invoice(), items=ALL_UNITS, restock=True)))
    outcome = shop.zoho.restock(carried)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "not_proven"


def test_a_restock_that_a_note_carries_is_proven_once_the_order_is_void(shop: Shop) -> None:
    order = shop.invoiced(settings={"is_credited_order_voidable": True})
    reference_of(shop.zoho.credit_note(credit(shop.invoice(), items=ALL_UNITS, restock=True)))
    shop.settle(salesorder=order["id"], status="void")
    carried = send_back(order, is_return=False, carried_by=f"{CASE}.post_ledger.1")
    assert reference_of(shop.zoho.restock(carried)) == order["id"]
    assert len(shop.book("restock")) == 2  # one a line, by the void


def test_yen_are_whole_numbers(shop: Shop) -> None:
    lines = [{"sku": "SHEET", "quantity": 1, "unit_minor": 2550}]
    shop.invoiced(lines=lines, currency="JPY", payments=[{"amount_minor": 2550}])
    invoice = shop.invoice()
    assert invoice.total == Money(2550, "JPY")
    command = credit(invoice, amount=Money(2550, "JPY"), items=(ItemQuantity("SHEET", 1),))
    note = reference_of(shop.zoho.credit_note(command))
    reference_of(shop.zoho.record_refund(record(note, amount=Money(2550, "JPY"))))
    assert shop.book("record_refund")[0]["amount_minor"] == 2550


# ---------------------------------------------------------------- tokens and limits


def test_one_token_serves_all_and_a_stale_one_is_fetched_anew(shop: Shop) -> None:
    order = shop.order()
    shop.facts(order)
    shop.facts(order)
    assert shop.asked.count("token") == 1
    shop.settle(token="expired")
    assert shop.zoho.cancel_order(cancel(order)) == Done(order["id"])
    assert shop.asked.count("token") == 2
    shop.now += timedelta(hours=1)
    shop.facts(order)
    assert shop.asked.count("token") == 3


def test_a_revoked_refresh_token_is_not_sent(shop: Shop) -> None:
    order = shop.order()
    shop.settle(token="revoked")
    with pytest.raises(NotSentError):
        shop.zoho.cancel_order(cancel(order))
    assert shop.effects == []


def test_a_missing_scope_is_the_houses_fault(shop: Shop) -> None:
    order = shop.order()
    shop.world.seed({NAME: {"scopes": ["salesorders.READ"]}})
    outcome = shop.zoho.cancel_order(cancel(order))
    assert isinstance(outcome, Retryable)
    assert outcome.code == "unauthorised"
    assert shop.effects == []


def test_the_limit_a_minute_is_a_wait_and_nothing_happens(shop: Shop) -> None:
    order = shop.order(settings={"calls_per_minute": 1})
    assert shop.zoho.check().is_ok
    outcome = shop.zoho.cancel_order(cancel(order))
    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.after_s) == ("throttled", 60.0)
    assert shop.effects == []


def test_a_check_names_the_organisation(shop: Shop) -> None:
    health = shop.zoho.check()
    assert health.is_ok
    assert "Practice Shop" in health.detail


def test_another_organisation_is_told(shop: Shop) -> None:
    stranger = replace(shop.zoho, organization_id="1")
    assert not stranger.check().is_ok
    found = stranger.read_order(OrderRef(NAME, number="#1042"))
    assert isinstance(found, Permanent)
    assert "organization_id" in found.reason


# ---------------------------------------------------------------- its deliveries


def wait_for(shop: Shop, count: int) -> None:
    for _ in range(500):
        if len(shop.deliveries) >= count:
            return
        shop.world.stopping.wait(0.02)
    raise AssertionError(f"{len(shop.deliveries)} deliveries")


@pytest.mark.parametrize("flag", ["unfulfilled", "return-eligible"])
@pytest.mark.parametrize("place", ["custom_field", "status"])
def test_a_flag_becomes_a_request_and_our_own_act_does_not(shop: Shop, flag: str, place: str) -> None:
    order = shop.order(settings={"flag_place": place})
    shop.world.webhooks.subscribe(NAME, Subscription("http://here.example/zoho", SECRET))
    inbound = ZohoInbound(
        Secret(SECRET), "shopify", flag_field="status" if place == "status" else "Inventory flag"
    )
    reference_of(shop.zoho.cancel_order(cancel(order)))
    wait_for(shop, 1)
    shop.settle(salesorder=order["id"], flag=flag)
    wait_for(shop, 2)
    ours, flagged = shop.deliveries
    verified = inbound.verify(ours, shop.now)
    assert isinstance(verified, Verified)
    assert isinstance(inbound.read_event(verified.topic, ours.body), Irrelevant)
    verified = inbound.verify(flagged, shop.now)
    assert isinstance(verified, Verified)
    assert verified.topic == f"salesorder.{flag}"
    assert inbound.read_event(verified.topic, flagged.body) == CancellationRequested(
        OrderRef("shopify", number="#1042"), reason="inventory"
    )
    stranger = ZohoInbound(Secret("another-secret"), "shopify")
    assert isinstance(stranger.verify(flagged, shop.now), Refused)
