"""SAP Business One's connector with the practice company: what its book says is what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Health, Polled
from refundflow.connectors.sap_business_one import SETTLED_S, Credentials, SapBusinessOne, SapInbound, build
from refundflow.domain.commands import CancelOrder, CreditNote, RecordRefund, Restock, VoidInvoice
from refundflow.domain.facts import (
    InvoiceFacts,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderRef,
    TakesBack,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import OrderCancelledElsewhere
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
from refundflow.sandbox import sap_business_one as double
from refundflow.sandbox.base import Fault, Kind, Record, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "sap-business-one"
CASE = "RF-00K3ZQ4M7ABCDEF"
CANCEL_KEY = StepKey(f"{CASE}.cancel_order.1")
NOTE_KEY = StepKey(f"{CASE}.post_ledger.1")
PAY_KEY = StepKey(f"{CASE}.post_ledger.2")
RESTOCK_KEY = StepKey(f"{CASE}.restock.1")
LINES = [
    {"sku": "A", "title": "Lamp", "quantity": 2, "unit_minor": 1000, "tax_code": "A1", "stock": 10},
    {"sku": "B", "title": "Bulb", "quantity": 3, "unit_minor": 250, "stock": 5},
]
SHIPPED = [{**line, "shipped": line["quantity"]} for line in LINES]
TOTAL = 3130
ALL = (ItemQuantity("A", 2), ItemQuantity("B", 3))


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


class Firm:
    """A practice company, its book, and the connector on it."""

    def __init__(self, **credentials: Any) -> None:
        self.at = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.world = World([double.SapBusinessOne], clock=lambda: self.at)
        self.wire = WorldWire(self.world)
        self.sap = self.connect(**credentials)

    def connect(self, **changes: Any) -> SapBusinessOne:
        return build(
            replace(
                Credentials(
                    base_url=f"{VENDORS}/{NAME}/b1s/v2",
                    company_db=double.COMPANY,
                    username=double.USER,
                    password=Secret(double.PASSWORD),
                ),
                **changes,
            ),
            self.wire,
            lambda: self.at,
        )

    def order(self, settings: Record | None = None, **described: Any) -> Record:
        seeded = {"number": "1042", "lines": LINES, **described}
        made = self.world.seed({NAME: {"settings": settings or {}, "orders": [seeded]}})
        return dict(made[NAME]["orders"][0])

    def paid(self, **described: Any) -> Record:
        """Invoiced from the order itself, and paid."""
        return self.order(**{"is_invoiced": True, "payments": [{"reference": "pi_1"}], **described})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, kind: Kind, operation: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def book(self) -> list[tuple[Any, ...]]:
        """Effect with amount, or with sku and units."""
        lines = self.world.vendor(NAME).book.lines()
        return [(x["effect"], x.get("sku") or x["amount_minor"], x.get("quantity")) for x in lines]

    def effects(self) -> list[str]:
        return [str(line["effect"]) for line in self.world.vendor(NAME).book.lines()]

    def references(self, effect: str) -> list[str]:
        return [str(x["reference"]) for x in self.world.vendor(NAME).book.lines() if x["effect"] == effect]

    def calls(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def invoice(self, number: str = "1042") -> InvoiceFacts:
        facts = self.sap.read_invoice(number)
        assert isinstance(facts, InvoiceFacts), facts
        return facts

    def facts(self, **ref: Any) -> OrderFacts:
        facts = self.sap.read_order(OrderRef(NAME, **(ref or {"number": "#1042"})))
        assert isinstance(facts, OrderFacts), facts
        return facts

    def cancel(self, order: Record) -> CancelOrder:
        return CancelOrder(
            step_key=CANCEL_KEY,
            key=wire_key(CANCEL_KEY, 1),
            order_id=str(order["id"]),
            reason="customer",
            restock=True,
            order_number="1042",
        )

    def note(self, minor: int = TOTAL, **more: Any) -> CreditNote:
        return CreditNote(
            step_key=NOTE_KEY,
            key=wire_key(NOTE_KEY, 1),
            invoice=self.invoice(),
            amount=eur(minor),
            number=f"CN-{CASE}-1",
            memo="Order 1042 cancelled",
            **{"items": ALL, "restock": True, **more},
        )

    def payment(self, note: Outcome, minor: int = TOTAL) -> RecordRefund:
        assert isinstance(note, Done), note
        return RecordRefund(
            step_key=PAY_KEY,
            key=wire_key(PAY_KEY, 1),
            amount=eur(minor),
            account_code="161020",
            credit_note_id=note.reference,
            refund_reference="re_3MmlLrLkdIwHu7ix0snN0B15",
        )

    def back(self, **more: Any) -> Restock:
        return Restock(
            step_key=RESTOCK_KEY,
            key=wire_key(RESTOCK_KEY, 1),
            **{
                "order_id": "",
                "currency": "EUR",
                "lines": (),
                "is_return": True,
                "order_number": "#1042",
                "items": ALL,
                **more,
            },
        )


@pytest.fixture
def firm() -> Iterator[Firm]:
    firm = Firm()
    yield firm
    firm.world.close()


def lost(act: Callable[[], object]) -> None:
    with pytest.raises(MaybeSentError):
        act()


# ------------------------------------------------------------------------------------------------ sessions


def test_one_login_serves_all_calls_and_carries_both_cookies(firm: Firm) -> None:
    firm.order()
    assert firm.sap.check() == Health(True, "the session is accepted, documents have U_RefundflowId")
    firm.facts()
    assert firm.calls().count("login") == 1


def test_an_expired_session_is_renewed_once_and_the_call_sent_again(firm: Firm) -> None:
    order = firm.order()
    firm.facts()
    firm.settle(sessions="expired")
    assert isinstance(firm.sap.cancel_order(firm.cancel(order)), Done)
    assert firm.effects().count("cancel_order") == 1
    assert firm.calls().count("login") == 2


def test_a_wrong_password_is_not_sent_anywhere_else(firm: Firm) -> None:
    order = firm.order()
    sap = firm.connect(password=Secret("another-password"))
    with pytest.raises(NotSentError):
        sap.cancel_order(firm.cancel(order))
    assert firm.book() == []


def test_a_missing_user_field_is_told_by_the_check_and_stops_the_write(firm: Firm) -> None:
    firm.paid(settings={"document_fields": [], "payment_fields": []})
    health = firm.sap.check()
    assert not health.is_ok
    assert "U_RefundflowId" in health.detail
    assert not isinstance(firm.sap.read_invoice("1042"), InvoiceFacts)
    assert firm.book() == []


# ------------------------------------------------------------------------------------------------ orders


def test_an_open_order_is_read_by_number_and_by_id(firm: Firm) -> None:
    order = firm.order(created="2026-11-20T09:30:00+00:00")
    facts = firm.facts()
    assert facts == firm.facts(order_id=str(order["id"]))
    assert (facts.number, facts.total, facts.created_at) == (
        "1042",
        eur(TOTAL),
        datetime(2026, 11, 20, 9, 30, tzinfo=UTC),
    )
    assert [(x.line_id, x.sku, x.quantity, x.unfulfilled, x.refundable, x.unit) for x in facts.lines] == [
        ("0", "A", 2, 2, 2, eur(1190)),
        ("1", "B", 3, 3, 3, eur(250)),
    ]
    assert (facts.cancels, facts.cancels_lines, facts.cancel_refusal) == (
        TakesBack.CALL,
        TakesBack.PERSON,
        "",
    )
    assert facts.payments == ()
    assert facts.is_restock_carried
    assert not facts.records_refunds
    assert not facts.knows_payments


def test_numbers_with_quotes_are_not_conditions(firm: Firm) -> None:
    firm.order(number="10'42")
    assert firm.facts(number="10'42").number == "10'42"
    assert isinstance(firm.sap.read_order(OrderRef(NAME, number="x' or NumAtCard ne 'x")), NotFound)


def test_two_live_orders_of_one_number_are_for_a_person_and_a_cancelled_one_does_not_count(
    firm: Firm,
) -> None:
    first = firm.order()
    second = firm.order()
    answer = firm.sap.read_order(OrderRef(NAME, number="1042"))
    assert isinstance(answer, Permanent)
    assert answer.code == "ambiguous"
    firm.settle(order=first["id"], cancel=True)
    assert firm.facts().order_id == str(second["id"])


def test_an_order_is_found_by_a_user_field(firm: Firm) -> None:
    fields = {"document_fields": ["U_RefundflowId", "U_ShopOrder"]}
    firm.order(settings=fields, number="PO-7", U_ShopOrder="1042")
    firm.sap = firm.connect(order_field="U_ShopOrder")
    assert firm.facts().number == "1042"


def test_lists_longer_than_a_page_are_read_whole(firm: Firm) -> None:
    for _ in range(103):
        firm.order(is_cancelled=True)
    live = firm.order()
    assert firm.facts().order_id == str(live["id"])
    assert firm.calls().count("list_orders") == 2


def test_the_partners_address_is_read_where_it_is_wanted(firm: Firm) -> None:
    firm.order(email="ada@shop.example", name="Ada")
    assert firm.facts().email == ""
    firm.sap = firm.connect(customer_email="partner")
    assert (firm.facts().email, firm.facts().customer_name) == ("ada@shop.example", "Ada")


@pytest.mark.parametrize(
    ("_case", "described", "settled", "cancels", "word", "left"),
    [
        ("delivered in part", {}, [{"deliver": {"0": 1}}], TakesBack.PERSON, "delivered in part", [1, 3]),
        ("delivered", {}, [{"deliver": True}], TakesBack.PERSON, "delivered", [0, 0]),
        ("invoiced", {"is_invoiced": True}, [], TakesBack.REFUND, "", [2, 3]),
        ("delivered and invoiced", {"lines": SHIPPED, "is_invoiced": True}, [], TakesBack.REFUND, "", [0, 0]),
        ("reserve", {"is_invoiced": True, "is_reserve": True}, [], TakesBack.PERSON, "reserve", [2, 3]),
        ("closed", {}, [{"close": True}], TakesBack.PERSON, "closed", [0, 0]),
        (
            "delivered in part, invoiced whole",
            {},
            [{"deliver": {"0": 2}}, {"invoice": True}],
            TakesBack.REFUND,
            "",
            [0, 3],
        ),
    ],
)
def test_what_became_of_an_order_says_how_it_is_taken_back(
    firm: Firm,
    _case: str,
    described: Record,
    settled: list[Record],
    cancels: TakesBack,
    word: str,
    left: list[int],
) -> None:
    order = firm.order(**described)
    for move in settled:
        firm.settle(order=order["id"], **move)
    facts = firm.facts()
    assert facts.cancels is cancels
    assert word in facts.cancel_refusal
    assert bool(word) is bool(facts.cancel_refusal)
    assert [line.unfulfilled for line in facts.lines] == left


def test_units_that_came_back_are_not_refundable_again(firm: Firm) -> None:
    firm.order(lines=SHIPPED)
    assert isinstance(firm.sap.restock(firm.back(items=(ItemQuantity("B", 2),))), Done)
    assert [line.refundable for line in firm.facts().lines] == [2, 1]


def test_documents_under_another_number_are_for_a_person(firm: Firm) -> None:
    order = firm.order()
    firm.settle(order=order["id"], deliver={"0": 1})
    firm.world.vendor(NAME).papers["DeliveryNotes"][1].values["NumAtCard"] = "renamed"  # type: ignore[attr-defined]
    facts = firm.facts()
    assert facts.cancels is TakesBack.PERSON
    assert "do not carry" in facts.cancel_refusal
    assert [line.unfulfilled for line in facts.lines] == [1, 3]


def test_a_quote_has_the_tax_of_its_lines(firm: Firm) -> None:
    firm.order()
    facts = firm.facts()
    assert firm.sap.quote_lines(facts, (LineQuantity("0", 1), LineQuantity("1", 2))) == eur(1190 + 500)
    assert firm.sap.quote_lines(facts, (LineQuantity("0", 2), LineQuantity("1", 3))) == facts.total
    assert isinstance(firm.sap.quote_lines(facts, (LineQuantity("0", 3),)), Permanent)


# ------------------------------------------------------------------------------------------------ cancel


CANCELLED = [("cancel_order", None, None), ("restock", "A", 2), ("restock", "B", 3)]


def test_a_cancel_is_done_and_again_is_done_already(firm: Firm) -> None:
    order = firm.order()
    command = firm.cancel(order)
    assert firm.sap.find_cancel_order(command) == NotFound(SETTLED_S, "order 5001 is not cancelled")
    assert firm.sap.cancel_order(command) == Done("1", "order 5001 is cancelled")
    assert isinstance(firm.sap.cancel_order(command), AlreadyDone)
    assert firm.sap.find_cancel_order(command) == Done("1", "order 5001 is cancelled")
    assert firm.book() == CANCELLED
    facts = firm.facts()
    assert facts.cancelled_at == firm.at


def test_a_cancel_whose_reply_was_lost_is_found_and_stays_one(firm: Firm) -> None:
    order = firm.order()
    command = firm.cancel(order)
    firm.fault(Kind.LOST_REPLY, "cancel_order")
    lost(lambda: firm.sap.cancel_order(command))
    assert isinstance(firm.sap.find_cancel_order(command), Done)
    assert isinstance(firm.sap.cancel_order(command), AlreadyDone)
    assert firm.book() == CANCELLED


@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.HTML])
def test_a_server_error_on_a_cancel_is_unknown(firm: Firm, kind: Kind) -> None:
    order = firm.order()
    firm.fault(kind, "cancel_order", status=502)
    assert isinstance(firm.sap.cancel_order(firm.cancel(order)), Unknown)
    assert firm.book() == []


def test_a_drawn_order_is_not_even_tried(firm: Firm) -> None:
    order = firm.order()
    firm.settle(order=order["id"], deliver={"0": 1})
    answer = firm.sap.cancel_order(firm.cancel(order))
    assert isinstance(answer, Permanent)
    assert answer.code == "drawn"
    assert "cancel_order" not in firm.calls()


def test_a_refusal_is_believed_after_a_look(firm: Firm) -> None:
    order = firm.order()
    firm.fault(Kind.REFUSE, "cancel_order")
    answer = firm.sap.cancel_order(firm.cancel(order))
    assert isinstance(answer, Permanent)
    assert answer.code == "-5002"
    assert firm.book() == []


# ------------------------------------------------------------------------------------------------ stock


def test_a_restock_that_the_cancel_carries_is_only_proven(firm: Firm) -> None:
    order = firm.order()
    carried = firm.back(carried_by=CANCEL_KEY, is_return=False, order_id=str(order["id"]))
    assert isinstance(firm.sap.restock(carried), Retryable)
    firm.sap.cancel_order(firm.cancel(order))
    assert isinstance(firm.sap.restock(carried), Done)
    assert firm.book() == CANCELLED


def test_a_restock_that_the_credit_memo_carries_is_only_proven(firm: Firm) -> None:
    order = firm.paid()
    carried = firm.back(carried_by=NOTE_KEY, is_return=False, order_id=str(order["id"]))
    assert isinstance(firm.sap.restock(carried), Retryable)
    assert isinstance(firm.sap.credit_note(firm.note()), Done)
    assert isinstance(firm.sap.restock(carried), Done)
    assert firm.book() == [("credit_note", TOTAL, None), ("restock", "A", 2), ("restock", "B", 3)]


def test_a_memo_that_moved_no_stock_proves_no_restock(firm: Firm) -> None:
    order = firm.paid()
    firm.sap.credit_note(firm.note(restock=False))
    answer = firm.sap.restock(firm.back(carried_by=NOTE_KEY, is_return=False, order_id=str(order["id"])))
    assert isinstance(answer, Permanent)
    assert answer.code == "not_restocked"


def test_goods_that_came_back_are_returned_once(firm: Firm) -> None:
    firm.order(lines=SHIPPED)
    command = firm.back(items=(ItemQuantity("A", 1), ItemQuantity("B", 3)))
    assert isinstance(firm.sap.find_restock(command), NotFound)
    done = firm.sap.restock(command)
    assert done == Done("1", "return 8001")
    assert firm.sap.find_restock(command) == done
    assert isinstance(firm.sap.restock(command), AlreadyDone)
    assert firm.book() == [("create_return", 1940, None), ("restock", "A", 1), ("restock", "B", 3)]
    assert firm.references("create_return") == [RESTOCK_KEY]


def test_a_return_whose_reply_was_lost_is_found_and_stays_one(firm: Firm) -> None:
    firm.order(lines=SHIPPED)
    firm.fault(Kind.LOST_REPLY, "create_return")
    lost(lambda: firm.sap.restock(firm.back()))
    assert isinstance(firm.sap.find_restock(firm.back()), Done)
    assert isinstance(firm.sap.restock(firm.back()), AlreadyDone)
    assert firm.effects() == ["create_return", "restock", "restock"]


def test_a_return_goes_to_the_warehouse_that_was_named(firm: Firm) -> None:
    firm.order(lines=SHIPPED)
    assert isinstance(firm.sap.restock(firm.back(location="02")), Done)
    lines = firm.world.vendor(NAME).book.lines()
    assert {line["warehouse"] for line in lines if line["effect"] == "restock"} == {"02"}


def test_more_than_was_delivered_or_what_was_invoiced_does_not_come_back_by_a_return(firm: Firm) -> None:
    firm.order(lines=SHIPPED)
    answer = firm.sap.restock(firm.back(items=(ItemQuantity("A", 3),)))
    assert isinstance(answer, Permanent)
    assert answer.code == "not_returnable"
    assert firm.book() == []


def test_a_restock_without_order_or_return_is_for_a_person(firm: Firm) -> None:
    answer = firm.sap.restock(firm.back(is_return=False))
    assert isinstance(answer, Permanent)
    assert answer.code == "not_by_call"
    assert firm.calls() == []


# ------------------------------------------------------------------------------------------------ invoices


def test_an_invoice_is_read_with_what_was_paid_and_credited(firm: Firm) -> None:
    firm.paid()
    invoice = firm.invoice("#1042")
    assert (invoice.state, invoice.total, invoice.due, invoice.paid, invoice.credited) == (
        InvoiceState.PAID,
        eur(TOTAL),
        eur(0),
        eur(TOTAL),
        eur(0),
    )
    assert [(x.sku, x.quantity, x.gross, x.tax_type) for x in invoice.lines] == [
        ("A", 2, eur(2380), "A1"),
        ("B", 3, eur(750), "EX"),
    ]
    assert not invoice.is_allocated
    firm.sap.credit_note(firm.note(750, items=(ItemQuantity("B", 3),)))
    after = firm.invoice()
    assert (after.due, after.paid, after.credited) == (eur(0), eur(2380), eur(750))


def test_an_unpaid_invoice_is_cancelled_once_and_reads_as_voided(firm: Firm) -> None:
    firm.order(is_invoiced=True)
    command = VoidInvoice(step_key=NOTE_KEY, key="k", invoice=firm.invoice())
    assert isinstance(firm.sap.find_void_invoice(command), NotFound)
    firm.fault(Kind.LOST_REPLY, "void_invoice")
    lost(lambda: firm.sap.void_invoice(command))
    assert isinstance(firm.sap.find_void_invoice(command), Done)
    assert isinstance(firm.sap.void_invoice(command), AlreadyDone)
    assert firm.effects().count("void_invoice") == 1
    assert firm.invoice().state is InvoiceState.VOIDED


def test_a_void_is_done_at_once_where_the_reply_arrives(firm: Firm) -> None:
    firm.order(is_invoiced=True)
    command = VoidInvoice(step_key=NOTE_KEY, key="k", invoice=firm.invoice())
    assert firm.sap.void_invoice(command) == Done("1", "invoice 7001 is cancelled")


def test_a_paid_invoice_is_not_cancelled(firm: Firm) -> None:
    firm.paid()
    answer = firm.sap.void_invoice(VoidInvoice(step_key=NOTE_KEY, key="k", invoice=firm.invoice()))
    assert isinstance(answer, Permanent)
    assert answer.code == "has_payments"
    assert firm.book() == []


# ------------------------------------------------------------------------------------------------ credit memos


@pytest.mark.parametrize("can_credit_paid", [True, False])
def test_a_paid_invoice_is_credited_once_with_or_without_its_lines_as_base(
    firm: Firm, can_credit_paid: bool
) -> None:
    firm.paid(settings={"can_credit_paid": can_credit_paid})
    command = firm.note()
    assert isinstance(firm.sap.find_credit_note(command), NotFound)
    done = firm.sap.credit_note(command)
    assert done == Done("1", "credit memo 9001")
    assert firm.sap.find_credit_note(command) == done
    assert isinstance(firm.sap.credit_note(command), AlreadyDone)
    assert firm.book() == [("credit_note", TOTAL, None), ("restock", "A", 2), ("restock", "B", 3)]
    assert firm.references("credit_note") == [NOTE_KEY]
    assert firm.calls().count("create_credit_note") == (1 if can_credit_paid else 2)


def test_a_memo_puts_nothing_back_unless_told_so(firm: Firm) -> None:
    firm.paid()
    assert isinstance(firm.sap.credit_note(firm.note(restock=False)), Done)
    assert firm.effects() == ["credit_note"]


def test_a_memo_over_some_units_has_only_these(firm: Firm) -> None:
    firm.paid()
    command = firm.note(1190 + 500, items=(ItemQuantity("A", 1), ItemQuantity("B", 2)))
    assert isinstance(firm.sap.credit_note(command), Done)
    assert firm.book() == [("credit_note", 1690, None), ("restock", "A", 1), ("restock", "B", 2)]


def test_a_memo_over_all_puts_back_only_the_units_that_come_back(firm: Firm) -> None:
    firm.order(is_invoiced=True)
    command = firm.note(items=(ItemQuantity("A", 1), ItemQuantity("B", 3)))
    assert isinstance(firm.sap.credit_note(command), Done)
    assert firm.book() == [("credit_note", TOTAL, None), ("restock", "A", 1), ("restock", "B", 3)]


def test_an_amount_that_no_lines_add_up_to_is_for_a_person(firm: Firm) -> None:
    firm.paid()
    answer = firm.sap.credit_note(firm.note(1000))
    assert isinstance(answer, Permanent)
    assert answer.code == "amount_not_in_lines"
    assert firm.book() == []


@pytest.mark.parametrize("paid", [True, False])
def test_a_memo_whose_reply_was_lost_is_found_and_stays_one(firm: Firm, paid: bool) -> None:
    firm.paid(payments=[{}] if paid else [], settings={"can_credit_paid": True})
    command = firm.note()
    firm.fault(Kind.LOST_REPLY, "create_credit_note")
    lost(lambda: firm.sap.credit_note(command))
    assert isinstance(firm.sap.find_credit_note(command), Done)
    assert isinstance(firm.sap.credit_note(command), AlreadyDone)
    assert firm.effects().count("credit_note") == 1


def test_the_second_form_whose_reply_was_lost_stays_one_too(firm: Firm) -> None:
    firm.paid()
    command = firm.note()
    firm.fault(Kind.LOST_REPLY, "create_credit_note", skip=1)
    lost(lambda: firm.sap.credit_note(command))
    assert isinstance(firm.sap.credit_note(command), AlreadyDone)
    assert firm.effects().count("credit_note") == 1


def test_a_memo_that_broke_off_after_the_act_is_unknown_and_found(firm: Firm) -> None:
    firm.paid(settings={"can_credit_paid": True})
    command = firm.note()
    firm.fault(Kind.STATUS, "create_credit_note", status=500, is_after_effect=True)
    assert isinstance(firm.sap.credit_note(command), Unknown)
    assert isinstance(firm.sap.find_credit_note(command), Done)
    assert firm.effects().count("credit_note") == 1


def test_an_open_invoice_that_is_refused_gets_no_second_form(firm: Firm) -> None:
    firm.order(is_invoiced=True)
    firm.fault(Kind.REFUSE, "create_credit_note")
    answer = firm.sap.credit_note(firm.note())
    assert isinstance(answer, Permanent)
    assert answer.code == "-5002"
    assert firm.calls().count("create_credit_note") == 1
    assert firm.book() == []


def test_an_approval_procedure_makes_it_wait_for_a_person(firm: Firm) -> None:
    firm.paid(settings={"approval": ["CreditNotes"], "can_credit_paid": True})
    command = firm.note()
    assert firm.sap.credit_note(command) == Pending("draft 1", 1800.0)
    assert firm.sap.credit_note(command) == Pending("draft 1", 1800.0)
    assert firm.sap.find_credit_note(command) == Pending("draft 1", 1800.0)
    assert firm.effects() == ["create_draft"]
    firm.settle(draft=1, status="approved")
    assert isinstance(firm.sap.find_credit_note(command), Pending)
    firm.settle(draft=1, status="generated")
    assert firm.sap.find_credit_note(command) == Done("1", "credit memo 9001")
    assert firm.effects().count("credit_note") == 1


def test_a_draft_for_a_paid_invoice_is_not_followed_by_another_without_base(firm: Firm) -> None:
    firm.paid(settings={"approval": ["CreditNotes"]})
    assert isinstance(firm.sap.credit_note(firm.note()), Pending)
    assert firm.effects() == ["create_draft"]


def test_a_rejected_draft_is_a_no(firm: Firm) -> None:
    firm.paid(settings={"approval": ["CreditNotes"], "can_credit_paid": True})
    firm.sap.credit_note(firm.note())
    firm.settle(draft=1, status="rejected")
    answer = firm.sap.find_credit_note(firm.note())
    assert isinstance(answer, Permanent)
    assert answer.code == "approval_rejected"


def test_a_memo_that_a_person_cancelled_is_not_written_again(firm: Firm) -> None:
    firm.paid(settings={"can_credit_paid": True})
    command = firm.note()
    firm.sap.credit_note(command)
    firm.settle(credit_note=1, cancel=True)
    for answer in (firm.sap.find_credit_note(command), firm.sap.credit_note(command)):
        assert isinstance(answer, Permanent)
        assert answer.code == "cancelled"
    assert firm.effects().count("credit_note") == 1


# ------------------------------------------------------------------------------------------------ outgoing payments


def test_a_refund_is_booked_on_the_memo_once(firm: Firm) -> None:
    firm.paid()
    command = firm.payment(firm.sap.credit_note(firm.note()))
    assert isinstance(firm.sap.find_record_refund(command), NotFound)
    done = firm.sap.record_refund(command)
    assert done == Done("1", "payment 101")
    assert firm.sap.find_record_refund(command) == done
    assert isinstance(firm.sap.record_refund(command), AlreadyDone)
    assert firm.effects().count("record_refund") == 1
    lines = [x for x in firm.world.vendor(NAME).book.lines() if x["effect"] == "record_refund"]
    assert [(x["amount_minor"], x["currency"], x["reference"]) for x in lines] == [(TOTAL, "EUR", PAY_KEY)]
    assert lines[0]["target"]["credit_notes"] == ["1"]


def test_a_payment_whose_reply_was_lost_is_found_and_stays_one(firm: Firm) -> None:
    firm.paid()
    command = firm.payment(firm.sap.credit_note(firm.note()))
    firm.fault(Kind.LOST_REPLY, "create_vendor_payment")
    lost(lambda: firm.sap.record_refund(command))
    assert isinstance(firm.sap.find_record_refund(command), Done)
    assert isinstance(firm.sap.record_refund(command), AlreadyDone)
    assert firm.effects().count("record_refund") == 1


def test_a_request_that_never_arrived_is_not_there_and_may_go_again(firm: Firm) -> None:
    firm.paid()
    command = firm.payment(firm.sap.credit_note(firm.note()))
    firm.fault(Kind.LOST_REQUEST, "create_vendor_payment")
    lost(lambda: firm.sap.record_refund(command))
    found = firm.sap.find_record_refund(command)
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s == SETTLED_S
    assert isinstance(firm.sap.record_refund(command), Done)
    assert firm.effects().count("record_refund") == 1


def test_a_memo_that_settled_an_open_invoice_has_nothing_to_pay_out(firm: Firm) -> None:
    firm.order(is_invoiced=True)
    command = firm.payment(firm.sap.credit_note(firm.note()))
    answer = firm.sap.record_refund(command)
    assert isinstance(answer, Permanent)
    assert answer.code == "nothing_left"
    assert "record_refund" not in firm.effects()


def test_what_a_half_paid_invoice_leaves_on_its_memo_is_paid_out(firm: Firm) -> None:
    firm.order(is_invoiced=True, payments=[{"amount_minor": 2000}])
    note = firm.sap.credit_note(firm.note())
    assert isinstance(firm.sap.record_refund(firm.payment(note, 2000)), Done)


def test_a_draft_of_a_payment_waits_for_a_person(firm: Firm) -> None:
    firm.paid(settings={"approval": ["VendorPayments"]})
    command = firm.payment(firm.sap.credit_note(firm.note()))
    assert isinstance(firm.sap.record_refund(command), Pending)
    assert isinstance(firm.sap.record_refund(command), Pending)
    assert firm.effects().count("create_draft") == 1
    firm.settle(payment_draft=1, status="generated")
    assert isinstance(firm.sap.find_record_refund(command), Done)


def test_a_payment_that_a_person_cancelled_is_not_booked_again(firm: Firm) -> None:
    firm.paid()
    command = firm.payment(firm.sap.credit_note(firm.note()))
    firm.sap.record_refund(command)
    firm.settle(payment=1, cancel=True)
    answer = firm.sap.record_refund(command)
    assert isinstance(answer, Permanent)
    assert answer.code == "cancelled"


# ------------------------------------------------------------------------------------------------ without the user field


def test_without_a_user_field_every_write_is_found_again_all_the_same() -> None:
    firm = Firm(reference_field="none")
    no_fields: Record = {"document_fields": [], "payment_fields": []}
    firm.paid(settings=no_fields)
    assert firm.sap.check().is_ok
    note = firm.sap.credit_note(firm.note())
    command = firm.payment(note)
    assert isinstance(firm.sap.record_refund(command), Done)
    assert isinstance(firm.sap.credit_note(firm.note()), AlreadyDone)
    assert isinstance(firm.sap.record_refund(command), AlreadyDone)
    assert firm.effects().count("credit_note") == 1
    assert firm.effects().count("record_refund") == 1
    other = replace(command, step_key=StepKey(f"{CASE}.post_ledger.20"))
    assert isinstance(firm.sap.find_record_refund(other), NotFound)
    firm.order(number="1050", lines=SHIPPED)
    back = firm.back(order_number="1050")
    assert isinstance(firm.sap.restock(back), Done)
    assert isinstance(firm.sap.restock(back), AlreadyDone)
    assert firm.effects().count("create_return") == 1
    firm.world.close()


# ------------------------------------------------------------------------------------------------ polling


def test_an_order_cancelled_by_a_person_is_news_once_whatever_the_overlap(firm: Firm) -> None:
    order = firm.order()
    firm.order(number="1043")
    first = firm.sap.poll("", firm.at)
    assert first == Polled((), "2026-11-22")
    firm.settle(order=order["id"], cancel=True)
    ids = set()
    for hours in (1, 20, 30):
        at = firm.at + timedelta(hours=hours)
        looked = firm.sap.poll("2026-11-22", at)
        assert isinstance(looked, Polled)
        assert not looked.has_more
        ids |= {event.source_event_id for event in looked.events}
        event = looked.events[0]
        assert SapInbound().read_event(event.topic, event.body) == OrderCancelledElsewhere(
            OrderRef(NAME, str(order["id"]), "1042")
        )
    assert ids == {f"cancelled:{order['id']}"}
    assert firm.facts().cancelled_at is not None


def test_long_news_come_page_by_page(firm: Firm) -> None:
    for n in range(130):
        firm.order(number=str(n), is_cancelled=True)
    first = firm.sap.poll("", firm.at)
    assert isinstance(first, Polled)
    assert (len(first.events), first.has_more, first.cursor) == (100, True, "2026-11-22+100")
    second = firm.sap.poll(first.cursor, firm.at)
    assert isinstance(second, Polled)
    assert (len(second.events), second.has_more, second.cursor) == (30, False, "2026-11-22")
    assert len({e.source_event_id for e in (*first.events, *second.events)}) == 130
