"""QuickBooks Online against the practice company: its book says what really happened, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.quickbooks_commerce import (
    Credentials,
    QuickBooksCommerce,
    QuickBooksInbound,
    build,
)
from refundflow.domain.commands import CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceState, RefundedBy
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.sandbox import quickbooks_commerce as practice
from refundflow.sandbox.base import Fault, Kind, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Request
from tests.support.world_http import VENDORS, MemoryVault, WorldWire

NAME = "quickbooks-commerce"
OPENED = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
CASE = mint_case_id(OPENED, 7)
STEP = mint_step_key(CASE, "post_ledger", 1)
CREDENTIALS = Credentials(
    client_id=practice.CLIENT_ID,
    client_secret=Secret(practice.CLIENT_SECRET),
    refresh_token=Secret(practice.REFRESH_TOKEN),
    realm_id=practice.REALM_ID,
    item_id="10",
    payment_method_id="4",
    base_url=f"{VENDORS}/{NAME}",
    token_url=f"{VENDORS}/{NAME}/oauth2/v1/tokens/bearer",
    webhook_secret=Secret("practice-verifier"),
)


def usd(minor: int) -> Money:
    return Money(minor, "USD")


class Company:
    """The practice company, our connector on it, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = OPENED + timedelta(minutes=5)
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.world = World([practice.QuickBooksCommerce], clock=lambda: self.now, send=self._receive)
        self.vault = MemoryVault()
        self.books = self.connect()

    def connect(self, **changes: Any) -> QuickBooksCommerce:
        """Our connector, as another worker would build it."""
        wire = WorldWire(self.world, self.vault)
        return build(replace(CREDENTIALS, **changes), wire, lambda: self.now.date())

    def _receive(self, _url: str, headers: Any, body: bytes) -> int:
        self.posted.append((dict(headers), body))
        return 200

    def seed(self, **described: Any) -> dict[str, Any]:
        return self.world.seed({NAME: described})[NAME]

    def sale(self, kind: str = "sales_receipts", **more: Any) -> InvoiceFacts:
        """A sale over 42.50 USD under number 1042, as our connector reads it."""
        lines = [{"sku": "SHEET", "unit_price_minor": 2125, "quantity": 2}]
        self.seed(**{kind: [{"number": "1042", "lines": lines, **more}]})
        return self.read()

    def read(self) -> InvoiceFacts:
        found = self.books.read_invoice("1042")
        assert isinstance(found, InvoiceFacts), found
        return found

    def settle(self, **data: Any) -> dict[str, Any]:
        return self.world.settle(NAME, data)[0]

    def fault(self, kind: Kind, operation: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def calls(self, *operations: str) -> int:
        return sum(each["operation"] in operations for each in self.world.calls)

    def book(self) -> list[tuple[str, int | None, str | None]]:
        """Every line of the book: effect, minor units, currency."""
        lines = self.world.vendor(NAME).book.lines()
        return [(line["effect"], line["amount_minor"], line["currency"]) for line in lines]

    def shown(self, kind: str, document_id: str) -> dict[str, Any]:
        path = f"/v3/company/{practice.REALM_ID}/{kind.lower()}/{document_id}"
        look = Request("GET", path, "test.look", params=(("minorversion", "75"),))
        found: dict[str, Any] = self.books.http.send(look).json[kind]
        return found


@pytest.fixture
def company() -> Iterator[Company]:
    company = Company()
    yield company
    company.world.close()


def refund_of(sale: InvoiceFacts, minor: int = 4250, number: int = 1, **more: Any) -> RecordRefund:
    step = mint_step_key(CASE, "post_ledger", number)
    made = RecordRefund(
        step_key=step,
        key=wire_key(step, 1),
        amount=Money(minor, sale.total.currency),
        account_code="35",
        refund_reference="re_3PracticeRefundOfAFewMoreCharacters",
        invoice=sale,
        number=f"RR-{step.replace('.post_ledger.', '-')}",
        memo="Order #1042 cancelled",
    )
    return replace(made, **more)


def note_of(sale: InvoiceFacts, minor: int = 4250) -> CreditNote:
    return CreditNote(
        step_key=STEP,
        key=wire_key(STEP, 1),
        invoice=sale,
        amount=Money(minor, sale.total.currency),
        number=f"CN-{STEP.replace('.post_ledger.', '-')}",
        memo="Order #1042 cancelled",
    )


def void_of(sale: InvoiceFacts) -> VoidInvoice:
    return VoidInvoice(step_key=STEP, key=wire_key(STEP, 1), invoice=sale)


# --- reading ------------------------------------------------------------------------------------------------


def test_a_sales_receipt_is_read_as_paid(company: Company) -> None:
    sale = company.sale()

    assert (sale.document, sale.state, sale.total, sale.due, sale.paid) == (
        "SalesReceipt",
        InvoiceState.PAID,
        usd(4250),
        usd(0),
        usd(4250),
    )
    assert (sale.refunded_by, sale.is_allocated, sale.contact_id) == (RefundedBy.RECEIPT, False, "61")
    assert [(line.gross, line.quantity) for line in sale.lines] == [(usd(4250), 2)]


@pytest.mark.parametrize(
    ("_case", "payments", "state", "due"),
    [
        ("open", [], InvoiceState.OPEN, 4250),
        ("partly paid", [{"amount_minor": 1000}], InvoiceState.OPEN, 3250),
        ("paid", [{"amount_minor": 4250}], InvoiceState.PAID, 0),
    ],
)
def test_an_invoice_is_read_with_what_is_due(
    company: Company, _case: str, payments: list[dict[str, int]], state: InvoiceState, due: int
) -> None:
    sale = company.sale("invoices", payments=payments)

    assert (sale.document, sale.state, sale.due, sale.paid, sale.credited) == (
        "Invoice",
        state,
        usd(due),
        usd(4250 - due),
        usd(0),
    )


def test_a_number_of_both_kinds_is_left_to_a_person(company: Company) -> None:
    company.sale("invoices")
    lines = [{"sku": "SHEET", "unit_price_minor": 2125}]
    company.seed(sales_receipts=[{"number": "1042", "lines": lines}])

    found = company.books.read_invoice("1042")

    assert isinstance(found, Permanent)
    assert found.code == "ambiguous"


@pytest.mark.parametrize("number", ["O'Brien", "back\\slash", "' or DocNumber = '1042", "9999", ""])
def test_a_number_that_is_not_there_finds_nothing_whatever_it_holds(company: Company, number: str) -> None:
    company.sale()

    assert isinstance(company.books.read_invoice(number), NotFound)


def test_a_number_with_a_quote_in_it_is_found(company: Company) -> None:
    company.seed(
        sales_receipts=[{"number": "O'Brien-7", "lines": [{"sku": "SHEET", "unit_price_minor": 100}]}]
    )

    found = company.books.read_invoice("O'Brien-7")

    assert isinstance(found, InvoiceFacts)
    assert found.total == usd(100)


def test_the_check_tells_what_matters_of_the_company(company: Company) -> None:
    company.settle(book_close_date="2026-10-31")
    assert company.books.check().detail == (
        "home currency USD, custom transaction numbers are on, books are closed up to 2026-10-31"
    )
    assert company.books.check().is_ok
    company.seed(items=[{"id": "11", "sku": "LAMP", "stock": 5}])

    told = company.connect(item_id="11").check()

    assert not told.is_ok
    assert "inventory item" in told.detail
    assert not company.connect(item_id="99").check().is_ok
    assert not company.connect(home_currency="EUR").check().is_ok


# --- refund receipts ----------------------------------------------------------------------------------------


def test_a_refund_is_booked_out_of_the_clearing_account_with_all_references(company: Company) -> None:
    command = refund_of(company.sale())

    outcome = company.books.record_refund(command)

    assert isinstance(outcome, Done)
    assert company.book() == [("record_refund", 4250, "USD")]
    shown = company.shown("RefundReceipt", outcome.reference)
    assert shown["DocNumber"] == command.number.replace("-RF-", "", 1)
    assert len(shown["DocNumber"]) <= 21
    assert shown["DepositToAccountRef"]["value"] == "35"
    assert shown["PaymentMethodRef"]["value"] == "4"
    assert shown["CustomerRef"]["value"] == "61"
    assert shown["TxnDate"] == "2026-11-25"
    for reference in (command.step_key, command.number, command.refund_reference, "SalesReceipt 1042"):
        assert reference in shown["PrivateNote"]


def test_a_receipt_that_was_written_is_found_and_not_written_again(company: Company) -> None:
    command = refund_of(company.sale())
    first = company.books.record_refund(command)
    assert isinstance(first, Done)

    assert company.books.find_record_refund(command) == first
    assert company.books.record_refund(command) == AlreadyDone(first.reference, first.detail)
    assert company.book() == [("record_refund", 4250, "USD")]


def test_a_repeat_long_after_the_request_id_is_forgotten_is_still_one_receipt(company: Company) -> None:
    command = refund_of(company.sale())
    company.books.record_refund(command)
    company.now += timedelta(days=40)

    assert isinstance(company.books.record_refund(replace(command, key=f"{command.key}-2")), AlreadyDone)
    assert company.book() == [("record_refund", 4250, "USD")]


@pytest.mark.parametrize("is_custom", [True, False], ids=["our numbers", "the company's numbers"])
def test_a_reply_lost_after_the_act_is_found_and_stays_one_receipt(company: Company, is_custom: bool) -> None:
    command = refund_of(company.sale())
    company.seed(settings={"is_custom_numbering": is_custom})
    company.fault(Kind.LOST_REPLY, "create_refund_receipt")

    with pytest.raises(MaybeSentError):
        company.books.record_refund(command)

    found = company.books.find_record_refund(command)
    assert isinstance(found, Done)
    assert isinstance(company.books.record_refund(command), Done if not is_custom else AlreadyDone)
    assert company.book() == [("record_refund", 4250, "USD")]


@pytest.mark.parametrize("is_custom", [True, False], ids=["our numbers", "the company's numbers"])
def test_a_request_that_was_lost_is_not_found_and_goes_again(company: Company, is_custom: bool) -> None:
    command = refund_of(company.sale())
    company.seed(settings={"is_custom_numbering": is_custom})
    company.fault(Kind.LOST_REQUEST, "create_refund_receipt")

    with pytest.raises(MaybeSentError):
        company.books.record_refund(command)

    found = company.books.find_record_refund(command)
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s is not None
    assert found.conclusive_after_s > 120
    assert isinstance(company.books.record_refund(command), Done)
    assert company.book() == [("record_refund", 4250, "USD")]


def test_an_answer_that_lies_about_the_act_is_unknown_and_then_found(company: Company) -> None:
    command = refund_of(company.sale())
    company.fault(Kind.STATUS, "create_refund_receipt", status=503, is_after_effect=True)

    assert isinstance(company.books.record_refund(command), Unknown)
    assert isinstance(company.books.find_record_refund(command), Done)
    assert company.book() == [("record_refund", 4250, "USD")]


def test_two_refunds_of_one_order_are_two_receipts_told_apart(company: Company) -> None:
    sale = company.sale()
    first, tenth = refund_of(sale, 1000, 1), refund_of(sale, 3250, 10)
    company.seed(settings={"is_custom_numbering": False})

    made = company.books.record_refund(tenth)
    assert isinstance(made, Done)
    assert isinstance(company.books.find_record_refund(first), NotFound)
    assert isinstance(company.books.record_refund(first), Done)

    assert company.books.find_record_refund(tenth) == made
    assert company.book() == [("record_refund", 3250, "USD"), ("record_refund", 1000, "USD")]


def test_tax_that_the_company_adds_is_an_alert_and_no_success(company: Company) -> None:
    books = company.connect(tax_code="TAX")
    command = refund_of(company.sale())

    for outcome in (books.record_refund(command), books.find_record_refund(command)):
        assert isinstance(outcome, Permanent)
        assert outcome.code == "amount_mismatch"
        assert "46.01 USD" in outcome.reason
    assert company.book() == [("record_refund", 4601, "USD")]


def test_a_receipt_in_another_currency_than_the_customers_is_refused_by_the_company(company: Company) -> None:
    company.seed(
        settings={"is_multicurrency": True}, customers=[{"id": "62", "name": "Practice", "currency": "EUR"}]
    )
    sale = company.sale()

    outcome = company.books.record_refund(refund_of(replace(sale, contact_id="62")))

    assert isinstance(outcome, Permanent)
    assert outcome.code == "6000"
    assert company.book() == []


def test_a_refund_in_a_foreign_currency_is_booked_in_it(company: Company) -> None:
    company.seed(
        settings={"is_multicurrency": True}, customers=[{"id": "62", "name": "Practice", "currency": "JPY"}]
    )
    sale = company.sale(customer="62", currency="JPY")
    assert sale.total == Money(4250, "JPY")

    assert isinstance(company.books.record_refund(refund_of(sale)), Done)
    assert company.book() == [("record_refund", 4250, "JPY")]


@pytest.mark.parametrize("status", [400, 200])
@pytest.mark.parametrize(
    ("_case", "seed", "change", "code"),
    [
        ("an account that is not there", {}, {"account_code": "999"}, "2500"),
        ("an account that holds no money", {}, {"account_code": "79"}, "6000"),
        ("closed books", {"book_close_date": "2026-11-30"}, {}, "6210"),
    ],
)
def test_a_refusal_is_permanent_with_whatever_status_it_comes(
    company: Company, _case: str, seed: dict[str, Any], change: dict[str, Any], code: str, status: int
) -> None:
    command = refund_of(company.sale(), **change)
    company.seed(settings={"business_fault_status": status, **seed})

    outcome = company.books.record_refund(command)

    assert isinstance(outcome, Permanent)
    assert outcome.code == code
    assert company.book() == []


def test_somebody_elses_document_under_our_number_is_shown_to_a_person(company: Company) -> None:
    command = refund_of(company.sale())
    number = command.number.replace("-RF-", "", 1)
    lines = [{"sku": "RETURNS", "unit_price_minor": 4250}]
    company.seed(refund_receipts=[{"number": number, "lines": lines, "note": "by hand"}])

    for outcome in (company.books.record_refund(command), company.books.find_record_refund(command)):
        assert isinstance(outcome, Permanent)
        assert outcome.code == "number_taken"
    assert company.book() == []


def test_a_duplicate_request_id_is_looked_up(company: Company) -> None:
    command = refund_of(company.sale())
    company.seed(settings={"repeated_requestid": "refuse", "is_custom_numbering": False})
    company.fault(Kind.LOST_REPLY, "create_refund_receipt")
    with pytest.raises(MaybeSentError):
        company.books.record_refund(command)

    assert isinstance(company.books.record_refund(command), Unknown)
    assert isinstance(company.books.find_record_refund(command), Done)
    assert company.book() == [("record_refund", 4250, "USD")]


def test_a_receipt_moves_no_stock(company: Company) -> None:
    lines = [{"sku": "LAMP", "unit_price_minor": 4250, "stock": 5}]
    sale = company.sale(lines=lines)

    company.books.record_refund(refund_of(sale))

    assert company.book() == [("record_refund", 4250, "USD")]
    assert company.settle(item="LAMP")["QtyOnHand"] == 5


def test_too_many_calls_wait_a_minute_and_write_nothing(company: Company) -> None:
    command = refund_of(company.sale())
    company.fault(Kind.STATUS, "create_refund_receipt", status=429)

    outcome = company.books.record_refund(command)

    assert isinstance(outcome, Retryable)
    assert (outcome.code, outcome.after_s) == ("throttled", 60.0)
    assert company.book() == []


# --- credit memos -------------------------------------------------------------------------------------------


def test_what_is_due_is_forgiven_by_one_credit_memo(company: Company) -> None:
    sale = company.sale("invoices", payments=[{"amount_minor": 1000}])
    command = note_of(sale, sale.due.minor)

    outcome = company.books.credit_note(command)

    assert isinstance(outcome, Done)
    assert outcome.detail == f"CreditMemo CN{CASE.removeprefix('RF-')}-1"
    assert company.books.find_credit_note(command) == outcome
    assert isinstance(company.books.credit_note(command), AlreadyDone)
    assert company.book() == [("credit_note", 3250, "USD")]
    assert company.read().due == usd(0)


def test_an_invoice_that_was_credited_alone_says_so(company: Company) -> None:
    company.books.credit_note(note_of(company.sale("invoices"), 1000))

    sale = company.read()

    assert (sale.due, sale.paid, sale.credited) == (usd(3250), usd(0), usd(1000))


def test_a_credit_that_stays_open_is_told(company: Company) -> None:
    sale = company.sale("invoices")
    company.seed(settings={"is_credit_applied": False})

    outcome = company.books.credit_note(note_of(sale))

    assert isinstance(outcome, Done)
    assert "42.5 of it is not applied to an invoice yet" in outcome.detail
    assert company.read().due == usd(4250)


def test_a_credit_that_went_to_another_invoice_of_the_customer_is_told(company: Company) -> None:
    lines = [{"sku": "SHEET", "unit_price_minor": 9900}]
    made = company.seed(invoices=[{"number": "7", "date": "2026-01-01", "lines": lines}])
    sale = company.sale("invoices")

    outcome = company.books.credit_note(note_of(sale))

    assert isinstance(outcome, Done)
    other = made["invoices"][0]["Id"]
    assert f"applied it to invoice id {other}, it is meant for id {sale.invoice_id}" in outcome.detail


def test_a_lost_reply_to_a_credit_memo_is_found(company: Company) -> None:
    command = note_of(company.sale("invoices"))
    company.fault(Kind.LOST_REPLY, "create_credit_memo")

    with pytest.raises(MaybeSentError):
        company.books.credit_note(command)

    assert isinstance(company.books.find_credit_note(command), Done)
    assert company.book() == [("credit_note", 4250, "USD")]


# --- voids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["invoices", "sales_receipts"])
def test_a_sale_is_voided_in_its_own_form_and_once(company: Company, kind: str) -> None:
    command = void_of(company.sale(kind))

    assert isinstance(company.books.find_void_invoice(command), NotFound)
    assert isinstance(company.books.void_invoice(command), Done)

    assert isinstance(company.books.find_void_invoice(command), Done)
    assert isinstance(company.books.void_invoice(command), AlreadyDone)
    assert company.book() == [("void_invoice", 4250, "USD")]
    assert company.read().state is InvoiceState.VOIDED


@pytest.mark.parametrize("kind", ["invoices", "sales_receipts"])
def test_a_lost_reply_to_a_void_is_found(company: Company, kind: str) -> None:
    command = void_of(company.sale(kind))
    company.fault(Kind.LOST_REPLY, "void_invoice")
    company.fault(Kind.LOST_REPLY, "void_sales_receipt")

    with pytest.raises(MaybeSentError):
        company.books.void_invoice(command)

    assert isinstance(company.books.find_void_invoice(command), Done)
    assert isinstance(company.books.void_invoice(command), AlreadyDone)
    assert company.book() == [("void_invoice", 4250, "USD")]


def test_a_sale_that_somebody_saves_meanwhile_is_read_again_and_voided(company: Company) -> None:
    sale = company.sale()
    company.settle(document=sale.invoice_id, edited={"PrivateNote": "rang the customer"})

    assert isinstance(company.books.void_invoice(void_of(sale)), Done)
    assert company.book() == [("void_invoice", 4250, "USD")]


@pytest.mark.parametrize("is_refused", [True, False])
def test_an_invoice_with_a_payment_is_never_voided(company: Company, is_refused: bool) -> None:
    sale = company.sale("invoices")
    company.seed(settings={"is_paid_invoice_voidable": not is_refused})
    company.settle(invoice=sale.invoice_id, paid_minor=1)

    outcome = company.books.void_invoice(void_of(sale))

    assert isinstance(outcome, Permanent)
    assert outcome.code == "has_payments"
    assert company.book() == []


def test_a_deposited_sales_receipt_is_left_to_a_person(company: Company) -> None:
    sale = company.sale(is_deposited=True)

    outcome = company.books.void_invoice(void_of(sale))

    assert isinstance(outcome, Permanent)
    assert outcome.code == "6540"
    assert company.book() == []


def test_a_sale_that_is_not_there_any_more_is_told(company: Company) -> None:
    gone = replace(company.sale(), invoice_id="1")

    for outcome in (
        company.books.void_invoice(void_of(gone)),
        company.books.find_void_invoice(void_of(gone)),
    ):
        assert isinstance(outcome, Permanent)
        assert outcome.code == "610"


# --- tokens -------------------------------------------------------------------------------------------------


def test_tokens_rotate_for_years_and_all_workers_share_them(company: Company) -> None:
    sale = company.sale()
    assert company.calls("token") == 1
    other = company.connect()
    assert isinstance(other.read_invoice("1042"), InvoiceFacts)
    assert company.calls("token") == 1
    for _ in range(3):
        company.now += timedelta(hours=2)
        assert isinstance(company.books.read_invoice("1042"), InvoiceFacts)
        assert isinstance(other.read_invoice("1042"), InvoiceFacts)
    assert company.calls("token") == 4
    assert company.vault.kept[NAME].refresh_token != practice.REFRESH_TOKEN
    assert sale.total == usd(4250)


def test_a_token_that_ends_early_is_replaced_and_the_refund_booked_once(company: Company) -> None:
    command = refund_of(company.sale())
    company.settle(access_tokens="expired")

    assert isinstance(company.books.record_refund(command), Done)
    assert company.book() == [("record_refund", 4250, "USD")]


def test_a_revoked_connection_sends_nothing_until_a_person_connects_anew(company: Company) -> None:
    command = refund_of(company.sale())
    company.settle(connection="revoked")
    with pytest.raises(NotSentError):
        company.books.record_refund(command)

    renewed = company.settle(connection="renewed")["refresh_token"]

    assert isinstance(company.connect(refresh_token=Secret(renewed)).record_refund(command), Done)
    assert company.book() == [("record_refund", 4250, "USD")]


# --- inbound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["cloudevents", "legacy"])
def test_deliveries_of_the_practice_company_are_verified_and_start_nothing(
    company: Company, form: str
) -> None:
    vendor = company.world.vendor(NAME)
    sale = company.sale()
    company.seed(settings={"webhook_form": form})
    event = vendor.event_for("qbo.salesreceipt.updated.v1", sale.invoice_id)
    signed = vendor.sign(event, "https://shop.example/hooks", "practice-verifier")
    inbound = QuickBooksInbound(Secret("next-verifier, practice-verifier"), practice.REALM_ID)
    delivery = Delivery({n.lower(): v for n, v in signed.headers.items()}, signed.body)

    verified = inbound.verify(delivery, company.now)

    assert isinstance(verified, Verified)
    reading = inbound.read_event(verified.topic, delivery.body)
    assert isinstance(reading, Irrelevant)
    assert sale.invoice_id in reading.why


# --- any order of trouble -----------------------------------------------------------------------------------

_TROUBLE: dict[str, Callable[[Company], None]] = {
    "reply lost": lambda c: c.fault(Kind.LOST_REPLY, "create_refund_receipt"),
    "request lost": lambda c: c.fault(Kind.LOST_REQUEST, "create_refund_receipt"),
    "a page instead of an answer": lambda c: c.fault(Kind.HTML, "create_refund_receipt", status=200),
    "a page after the act": lambda c: c.fault(
        Kind.HTML, "create_refund_receipt", status=502, is_after_effect=True
    ),
    "a failure before the act": lambda c: c.fault(Kind.STATUS, "create_refund_receipt", status=500),
    "the look fails": lambda c: c.fault(Kind.STATUS, "query", status=500),
    "throttled": lambda c: c.fault(Kind.STATUS, "query", status=429),
    "an old token": lambda c: c.fault(Kind.REFUSE_AUTH, "create_refund_receipt"),
}


@pytest.mark.parametrize("is_custom", [True, False], ids=["our numbers", "the company's numbers"])
@pytest.mark.parametrize("trouble", _TROUBLE)
def test_whatever_happens_a_look_and_a_repeat_end_in_one_receipt(
    company: Company, trouble: str, is_custom: bool
) -> None:
    command = refund_of(company.sale())
    company.seed(settings={"is_custom_numbering": is_custom})
    _TROUBLE[trouble](company)

    for _ in range(4):
        try:
            outcome: Outcome = company.books.record_refund(command)
        except MaybeSentError as error:
            outcome = Unknown(error.reason)
        if isinstance(outcome, Done | AlreadyDone):
            break
        company.now += timedelta(hours=3)  # the request id is forgotten meanwhile
        if isinstance(outcome, Unknown):
            found = company.books.find_record_refund(command)
            if isinstance(found, Done):
                break
            assert isinstance(found, NotFound), found

    assert company.book() == [("record_refund", 4250, "USD")]
