"""Xero: what is sent for each state of an invoice, how refusals are settled by looking, and what no answer
may become.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.connectors.base import Health
from refundflow.connectors.xero import SPEC, Credentials, Xero, build, number_of
from refundflow.domain.commands import AllocateCredit, CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceLine, InvoiceState
from refundflow.domain.ids import StepKey, mint_case_id, mint_step_key, wire_key
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Request, Response, parse_json
from tests.support.fake_http import FakeHttp, FakeWire, FixedTokens, answer

STEP = StepKey("RF-01JQZ7K3M0ABCDE.post_ledger.1")
KEY = f"refundflow:{STEP}:1"
INVOICE_ID = "a03ffcd2-5d91-4c7e-b483-318584e9e439"
CONTACT_ID = "430fa14a-f945-44d3-9f97-5df5e28441b8"
NOTE_ID = "249f15fa-f2a7-4acc-8769-0984103f2225"
PAYMENT_ID = "6b037c9b-2e5d-4905-84d3-eabfb3438242"
ALLOCATION_ID = "5690f1e8-1d02-4893-90c2-ee1a69eff942"
NUMBER = "CN-RF-01JQZ7K3M0ABCDE-1"
TODAY = date(2026, 11, 23)
TODAY_AT = datetime(2026, 11, 23, tzinfo=UTC)


def xero(vendor: FakeHttp) -> Xero:
    return Xero(vendor, lambda: TODAY)


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def invoice(**changes: Any) -> dict[str, Any]:
    """A paid invoice of 46.00 EUR, 15 % tax included, as Xero writes it."""
    return {
        "Type": "ACCREC",
        "InvoiceID": INVOICE_ID,
        "InvoiceNumber": "INV-1042",
        "Status": "PAID",
        "Contact": {"ContactID": CONTACT_ID, "Name": "Somebody"},
        "LineAmountTypes": "Inclusive",
        "LineItems": [
            {"Description": "Desk lamp", "Quantity": 2.0, "UnitAmount": 20.0, "LineAmount": 36.5, "DiscountAmount": 3.5,
             "AccountCode": "200", "TaxType": "OUTPUT2", "ItemCode": "LAMP"},
            {"Description": "A text line"},
            {"Description": "Shipping", "Quantity": 1.0, "UnitAmount": 9.5, "LineAmount": 9.5, "AccountCode": "200",
             "TaxType": "OUTPUT2"},
        ],
        "Total": 46.0,
        "AmountDue": 0.0,
        "AmountPaid": 46.0,
        "AmountCredited": 0.0,
        "CurrencyCode": "EUR",
        "HasErrors": False,
    } | changes  # fmt: skip


FACTS = InvoiceFacts(
    platform="xero",
    invoice_id=INVOICE_ID,
    number="INV-1042",
    state=InvoiceState.PAID,
    contact_id=CONTACT_ID,
    total=eur(4600),
    due=eur(0),
    paid=eur(4600),
    credited=eur(0),
    lines=(
        InvoiceLine("Desk lamp", eur(3650), "200", "OUTPUT2"),
        InvoiceLine("A text line", eur(0), "", ""),
        InvoiceLine("Shipping", eur(950), "200", "OUTPUT2"),
    ),
    line_amount_types="Inclusive",
)

VOID = VoidInvoice(step_key=STEP, key=KEY, invoice=FACTS)
NOTE = CreditNote(
    step_key=STEP, key=KEY, invoice=FACTS, amount=eur(4600), number=NUMBER, memo="Order 1042 cancelled"
)
ALLOCATE = AllocateCredit(
    step_key=STEP, key=KEY, invoice_id=INVOICE_ID, amount=eur(1000), credit_note_id=NOTE_ID
)
REFUND = RecordRefund(
    step_key=STEP,
    key=KEY,
    amount=eur(2550),
    account_code="092",
    credit_note_id=NOTE_ID,
    refund_reference="re_3Abc",
)


def note(**changes: Any) -> dict[str, Any]:
    return {
        "CreditNoteID": NOTE_ID,
        "CreditNoteNumber": NUMBER,
        "Type": "ACCRECCREDIT",
        "Reference": STEP,
        "Status": "AUTHORISED",
        "Total": 46.0,
        "RemainingCredit": 46.0,
        "CurrencyCode": "EUR",
        "Allocations": [],
        "Payments": [],
        "HasErrors": False,
    } | changes


def allocation(**changes: Any) -> dict[str, Any]:
    return {"AllocationID": ALLOCATION_ID, "Amount": 10.0, "Invoice": {"InvoiceID": INVOICE_ID}} | changes


def payment(**changes: Any) -> dict[str, Any]:
    return {
        "PaymentID": PAYMENT_ID,
        "Amount": 25.5,
        "Reference": f"{STEP} re_3Abc",
        "Status": "AUTHORISED",
        "PaymentType": "ARCREDITPAYMENT",
        "Invoice": {"InvoiceID": NOTE_ID, "Type": "ACCRECCREDIT", "CurrencyCode": "EUR"},
        "HasValidationErrors": False,
    } | changes


def invoices(*found: object) -> Response:
    return answer(200, {"Status": "OK", "Invoices": list(found)})


def notes(*found: object, **more: object) -> Response:
    return answer(200, {"Status": "OK", "CreditNotes": list(found)} | more)


def refused(*texts: str) -> Response:
    return answer(
        400,
        {
            "ErrorNumber": 10,
            "Type": "ValidationException",
            "Message": "A validation exception occurred",
            "Elements": [{"ValidationErrors": [{"Message": text} for text in texts]}],
        },
    )


# --- reading an invoice -------------------------------------------------------------------------------------


def test_an_invoice_is_read_with_its_lines_after_discount() -> None:
    vendor = FakeHttp(invoices(invoice()))

    assert xero(vendor).read_invoice("INV-1042") == FACTS
    assert vendor.calls == ["GET /Invoices"]
    assert vendor.requests[0].params == (("InvoiceNumbers", "INV-1042"), ("page", "1"))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("DRAFT", InvoiceState.DRAFT),
        ("SUBMITTED", InvoiceState.DRAFT),
        ("AUTHORISED", InvoiceState.OPEN),
        ("PAID", InvoiceState.PAID),
        ("VOIDED", InvoiceState.VOIDED),
        ("DELETED", InvoiceState.VOIDED),
    ],
)
def test_every_status_has_one_state(status: str, state: InvoiceState) -> None:
    assert xero(FakeHttp(invoices(invoice(Status=status)))).read_invoice("INV-1042") == replace(
        FACTS, state=state
    )


@pytest.mark.parametrize(
    ("_case", "found", "expected"),
    [
        ("none", [], NotFound(reason="no sales invoice INV-1042 in Xero")),
        ("a bill has the number", [invoice(Type="ACCPAY")], NotFound(reason="no sales invoice INV-1042 in Xero")),
        ("another number", [invoice(InvoiceNumber="INV-10")], NotFound(reason="no sales invoice INV-1042 in Xero")),
        ("a deleted one beside it", [invoice(Status="DELETED", InvoiceID=NOTE_ID), invoice()], FACTS),
        (
            "two open ones",
            [invoice(), invoice(InvoiceID=NOTE_ID)],
            Permanent(
                "ambiguous_invoice", f"several sales invoices INV-1042 are open: {INVOICE_ID}, {NOTE_ID}"
            ),
        ),
    ],
)  # fmt: skip
def test_the_one_open_sales_invoice_with_the_number_is_taken(
    _case: str, found: list[object], expected: object
) -> None:
    assert xero(FakeHttp(invoices(*found))).read_invoice("INV-1042") == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"Status": "NEW"},
        {"Status": None},
        {"Total": "46.00"},
        {"Total": None},
        {"Total": True},
        {"Total": 46.001},
        {"AmountDue": None},
        {"AmountPaid": []},
        {"CurrencyCode": "eur"},
        {"CurrencyCode": None},
        {"Contact": None},
        {"Contact": {}},
        {"InvoiceID": 7},
        {"LineItems": None},
        {"LineItems": [None]},
        {"LineItems": [{"LineAmount": "1.00"}]},
        {"LineItems": [{"UnitAmount": 5.0}]},
    ],
)
def test_an_invoice_with_a_field_that_cannot_be_read_is_unknown(changes: dict[str, object]) -> None:
    found = xero(FakeHttp(invoices(invoice(**changes)))).read_invoice("INV-1042")

    assert found == Unknown("Xero answered with an invoice whose fields cannot be read")


def test_nothing_credited_may_be_left_out_of_an_invoice() -> None:
    sent = invoice()
    del sent["AmountCredited"]

    assert xero(FakeHttp(invoices(sent))).read_invoice("INV-1042") == FACTS


def test_an_answer_of_several_pages_does_not_prove_that_an_invoice_is_missing() -> None:
    answered = answer(200, {"Invoices": [], "pagination": {"page": 1, "pageCount": 3}})

    assert xero(FakeHttp(answered)).read_invoice("INV-1042") == Unknown(
        "Xero answered with more pages of invoices than one number can have"
    )


# --- voiding ------------------------------------------------------------------------------------------------

OPEN = {"Status": "AUTHORISED", "AmountDue": 46.0, "AmountPaid": 0.0}


@pytest.mark.parametrize(
    ("now", "target"),
    [({"Status": "DRAFT"}, "DELETED"), ({"Status": "SUBMITTED"}, "DELETED"), (OPEN, "VOIDED")],
)
def test_an_untouched_invoice_is_voided_and_a_draft_deleted(now: dict[str, object], target: str) -> None:
    vendor = FakeHttp(invoices(invoice(**now)), invoices(invoice(Status=target)))

    assert xero(vendor).void_invoice(VOID) == Done(INVOICE_ID, target)
    assert vendor.calls == [f"GET /Invoices/{INVOICE_ID}", f"POST /Invoices/{INVOICE_ID}"]
    assert vendor.requests[1].json == {"Invoices": [{"InvoiceID": INVOICE_ID, "Status": target}]}
    assert vendor.requests[1].headers == {"Idempotency-Key": KEY}


@pytest.mark.parametrize("status", ["VOIDED", "DELETED"])
def test_a_voided_invoice_is_left_alone(status: str) -> None:
    vendor = FakeHttp(invoices(invoice(Status=status)))

    assert xero(vendor).void_invoice(VOID) == AlreadyDone(INVOICE_ID, status)
    assert vendor.calls == [f"GET /Invoices/{INVOICE_ID}"]


@pytest.mark.parametrize(
    ("_case", "now", "code"),
    [
        ("paid", {"Status": "PAID"}, "has_payments"),
        ("partly paid", OPEN | {"AmountPaid": 0.01}, "has_payments"),
        ("partly credited", OPEN | {"AmountCredited": 1}, "has_payments"),
    ],
)
def test_an_invoice_with_payments_or_credits_is_never_voided(
    _case: str, now: dict[str, object], code: str
) -> None:
    vendor = FakeHttp(invoices(invoice(**now)))

    outcome = xero(vendor).void_invoice(VOID)

    assert isinstance(outcome, Permanent)
    assert outcome.code == code
    assert vendor.calls == [f"GET /Invoices/{INVOICE_ID}"]


@pytest.mark.parametrize(
    ("_case", "first", "expected"),
    [
        ("offline", answer(503, "offline"), Retryable("unavailable", "Xero answered 503")),
        ("gone", answer(404, "not found"), Permanent("not_found", f"Xero has no invoice {INVOICE_ID}")),
        ("html", answer(200, "<html>"), Unknown("unreadable answer, status 200")),
        ("another invoice", invoices(invoice(InvoiceID=NOTE_ID)), Unknown("unreadable answer, status 200")),
        (
            "amounts missing",
            invoices(invoice(Status="AUTHORISED", AmountPaid=None)),
            Unknown("Xero answered with an invoice that cannot be read, status AUTHORISED"),
        ),
    ],
)
def test_nothing_is_voided_when_the_invoice_cannot_be_read_first(
    _case: str, first: Response, expected: object
) -> None:
    vendor = FakeHttp(first)

    assert xero(vendor).void_invoice(VOID) == expected
    assert vendor.calls == [f"GET /Invoices/{INVOICE_ID}"]


def test_a_status_that_does_not_read_back_is_unknown() -> None:
    vendor = FakeHttp(invoices(invoice(**OPEN)), invoices(invoice(**OPEN)))

    assert xero(vendor).void_invoice(VOID) == Unknown(
        f"asked for VOIDED, Xero answered with AUTHORISED for invoice {INVOICE_ID}"
    )


def test_the_answer_about_another_invoice_is_unknown() -> None:
    vendor = FakeHttp(invoices(invoice(**OPEN)), invoices(invoice(Status="VOIDED", InvoiceID=NOTE_ID)))

    assert xero(vendor).void_invoice(VOID) == Unknown(
        f"asked for VOIDED, Xero answered with VOIDED for invoice {NOTE_ID}"
    )


@pytest.mark.parametrize(
    ("_case", "status", "expected"),
    [
        ("it is voided", "VOIDED", Done(INVOICE_ID, "VOIDED")),
        ("it is deleted", "DELETED", Done(INVOICE_ID, "DELETED")),
        ("it is open", "AUTHORISED", NotFound(60.0, "the invoice is AUTHORISED")),
        ("it is something new", "PARKED", Unknown("Xero answered with an unknown status PARKED")),
    ],
)
def test_a_look_at_an_invoice_tells_whether_it_is_voided(_case: str, status: str, expected: object) -> None:
    assert xero(FakeHttp(invoices(invoice(Status=status)))).find_void_invoice(VOID) == expected


# --- credit notes -------------------------------------------------------------------------------------------


def sent_note(command: CreditNote) -> dict[str, Any]:
    vendor = FakeHttp(notes(note(Total=float(command.amount.major))))
    assert xero(vendor).credit_note(command) == Done(NOTE_ID)
    assert vendor.calls == ["PUT /CreditNotes"]
    assert vendor.requests[0].headers == {"Idempotency-Key": KEY}
    (body,) = vendor.requests[0].json["CreditNotes"]
    return dict(body)


def test_a_note_over_the_whole_invoice_repeats_its_lines() -> None:
    assert sent_note(NOTE) == {
        "Type": "ACCRECCREDIT",
        "Status": "AUTHORISED",
        "Contact": {"ContactID": CONTACT_ID},
        "Date": "2026-11-23",
        "CreditNoteNumber": NUMBER,
        "Reference": STEP,
        "CurrencyCode": "EUR",
        "LineAmountTypes": "Inclusive",
        "LineItems": [
            {"Description": "Desk lamp", "Quantity": 1, "UnitAmount": 36.5, "AccountCode": "200", "TaxType": "OUTPUT2"},
            {"Description": "Shipping", "Quantity": 1, "UnitAmount": 9.5, "AccountCode": "200", "TaxType": "OUTPUT2"},
        ],
    }  # fmt: skip


def test_a_line_without_words_gets_those_of_the_case() -> None:
    lines = (replace(FACTS.lines[0], description=""), FACTS.lines[2])

    body = sent_note(replace(NOTE, invoice=replace(FACTS, lines=lines)))

    assert [line["Description"] for line in body["LineItems"]] == ["Order 1042 cancelled", "Shipping"]


def test_a_whole_note_keeps_lines_that_exclude_tax() -> None:
    facts = replace(
        FACTS,
        total=eur(4600),
        lines=(InvoiceLine("Desk lamp", eur(4000), "200", "OUTPUT2"),),
        line_amount_types="Exclusive",
    )

    body = sent_note(replace(NOTE, invoice=facts))

    assert body["LineAmountTypes"] == "Exclusive"
    assert [line["UnitAmount"] for line in body["LineItems"]] == [40]


@pytest.mark.parametrize(
    ("invoice_types", "note_types"),
    [("Inclusive", "Inclusive"), ("Exclusive", "Inclusive"), ("NoTax", "NoTax"), ("", "Inclusive")],
)
def test_a_note_over_a_part_is_one_line_with_its_tax_inside(invoice_types: str, note_types: str) -> None:
    part = replace(NOTE, amount=eur(2550), invoice=replace(FACTS, line_amount_types=invoice_types))

    body = sent_note(part)

    assert body["LineAmountTypes"] == note_types
    assert body["LineItems"] == [
        {"Description": "Order 1042 cancelled", "Quantity": 1, "UnitAmount": 25.5, "AccountCode": "200",
         "TaxType": "OUTPUT2"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("_case", "changes", "code"),
    [
        ("two tax rates", {"lines": (FACTS.lines[0], replace(FACTS.lines[2], tax_type="NONE"))}, "ambiguous_tax"),
        ("two accounts", {"lines": (FACTS.lines[0], replace(FACTS.lines[2], account_code="260"))}, "ambiguous_tax"),
        ("no lines", {"lines": ()}, "ambiguous_tax"),
        ("another currency", {"total": Money(4600, "USD")}, "currency_mismatch"),
    ],
)  # fmt: skip
def test_a_note_whose_tax_would_be_a_guess_is_left_to_a_person_and_nothing_is_sent(
    _case: str, changes: dict[str, Any], code: str
) -> None:
    vendor = FakeHttp()
    part = replace(NOTE, amount=eur(2550), invoice=replace(FACTS, **changes))

    outcome = xero(vendor).credit_note(part)

    assert isinstance(outcome, Permanent)
    assert outcome.code == code
    assert vendor.calls == []


def test_the_reason_for_leaving_a_note_to_a_person_says_what_to_do() -> None:
    lines = (FACTS.lines[0], replace(FACTS.lines[2], tax_type="NONE"))

    outcome = xero(FakeHttp()).credit_note(
        replace(NOTE, amount=eur(2550), invoice=replace(FACTS, lines=lines))
    )

    assert outcome == Permanent(
        "ambiguous_tax",
        "25.50 EUR of invoice INV-1042 (46.00 EUR) cannot be spread over its lines without guessing: they have 2 "
        f"combinations of account and tax rate. In Xero, write credit note {NUMBER} over 25.50 EUR by hand, choosing "
        f"account and tax rate per line, with reference {STEP}; then resolve this step with the note's CreditNoteID.",
    )


def test_lines_with_different_taxes_are_no_problem_for_the_whole_invoice() -> None:
    lines = (FACTS.lines[0], replace(FACTS.lines[2], tax_type="NONE"))

    body = sent_note(replace(NOTE, invoice=replace(FACTS, lines=lines)))

    assert [line["TaxType"] for line in body["LineItems"]] == ["OUTPUT2", "NONE"]


NOTE_ANSWERS = [
    ("as asked", {}, Done(NOTE_ID)),
    ("paid meanwhile", {"Status": "PAID"}, Done(NOTE_ID)),
    (
        "another total",
        {"Total": 52.9},
        Permanent(
            "amount_mismatch",
            f"credit note {NUMBER} ({NOTE_ID}) says 52.90 EUR, 46.00 EUR was asked for: correct it in Xero by hand",
        ),
    ),
    (
        "another currency",
        {"CurrencyCode": "NZD"},
        Permanent(
            "amount_mismatch",
            f"credit note {NUMBER} ({NOTE_ID}) says 46.00 NZD, 46.00 EUR was asked for: correct it in Xero by hand",
        ),
    ),
    (
        "undone since",
        {"Status": "VOIDED"},
        Permanent(
            "voided",
            f"credit note {NUMBER} ({NOTE_ID}) was written and is VOIDED since: a person undid it",
        ),
    ),
    (
        "waits for approval",
        {"Status": "SUBMITTED"},
        Permanent(
            "not_approved",
            f"credit note {NUMBER} ({NOTE_ID}) is there as SUBMITTED: approve it in Xero, then replay this step, which "
            "will find it",
        ),
    ),
    ("no total", {"Total": None}, Unknown("Xero answered with a credit note whose fields cannot be read")),
    (
        "beyond any sum",
        {"Total": 1e20},
        Unknown("Xero answered with a credit note whose fields cannot be read"),
    ),
    ("new status", {"Status": "X"}, Unknown("Xero answered with a credit note whose fields cannot be read")),
]


@pytest.mark.parametrize(("_case", "changes", "expected"), NOTE_ANSWERS)
def test_a_written_note_is_compared_with_what_was_asked(
    _case: str, changes: dict[str, Any], expected: object
) -> None:
    assert xero(FakeHttp(notes(note(**changes)))).credit_note(NOTE) == expected


@pytest.mark.parametrize(("_case", "changes", "expected"), NOTE_ANSWERS)
def test_a_found_note_is_compared_with_what_was_asked(
    _case: str, changes: dict[str, Any], expected: object
) -> None:
    assert xero(FakeHttp(notes(note(**changes)))).find_credit_note(NOTE) == expected


@pytest.mark.parametrize(
    ("_case", "found", "expected"),
    [
        ("none", notes(), NotFound(60.0, f"no credit note {NUMBER} in Xero")),
        ("renumbered by a person", notes(note(CreditNoteNumber="CN-7")), Done(NOTE_ID)),
        ("a voided one beside it", notes(note(Status="VOIDED", CreditNoteID=CONTACT_ID), note()), Done(NOTE_ID)),
        (
            "somebody else's number",
            notes(note(Reference="US Tour")),
            Permanent(
                "number_taken",
                f"credit note {NUMBER} exists ({NOTE_ID}) without our reference {STEP}: compare the two, and set the "
                "reference if it is this one",
            ),
        ),
        (
            "two",
            notes(note(), note(CreditNoteID=CONTACT_ID)),
            Permanent(
                "booked_twice",
                f"several credit notes in Xero are for {STEP}: {NOTE_ID}, {CONTACT_ID}. Undo all but one.",
            ),
        ),
        (
            "the filter was not applied",
            notes(note(Reference="a", CreditNoteNumber="b"), pagination={"page": 1, "pageCount": 2}),
            Unknown("Xero answered with more than the notes that were asked for"),
        ),
        ("no objects", notes(None), Unknown("Xero answered with more than the notes that were asked for")),
    ],
)  # fmt: skip
def test_a_note_is_looked_for_by_number_and_by_reference(
    _case: str, found: Response, expected: object
) -> None:
    vendor = FakeHttp(found)

    assert xero(vendor).find_credit_note(NOTE) == expected
    assert vendor.calls == ["GET /CreditNotes"]
    assert vendor.requests[0].params == (
        ("where", f'CreditNoteNumber=="{NUMBER}" OR Reference=="{STEP}"'),
        ("page", "1"),
    )


# --- allocations --------------------------------------------------------------------------------------------


def test_an_allocation_names_the_invoice_and_the_amount() -> None:
    vendor = FakeHttp(answer(200, {"Allocations": [allocation()]}))

    assert xero(vendor).allocate_credit(ALLOCATE) == Done(ALLOCATION_ID)
    assert vendor.calls == [f"PUT /CreditNotes/{NOTE_ID}/Allocations"]
    assert vendor.requests[0].headers == {"Idempotency-Key": KEY}
    assert vendor.requests[0].json == {
        "Allocations": [{"Invoice": {"InvoiceID": INVOICE_ID}, "Amount": 10, "Date": "2026-11-23"}]
    }


ELSEWHERE = {"Amount": 10.0, "Invoice": {"InvoiceID": CONTACT_ID}}
ALLOCATIONS = [
    ("ours", [allocation()], Done(ALLOCATION_ID)),
    ("ours beside another invoice's", [ELSEWHERE, allocation()], Done(ALLOCATION_ID)),
    ("ours without an id", [{"Amount": 10, "Invoice": {"InvoiceID": INVOICE_ID}}], Done(NOTE_ID)),
    (
        "another amount",
        [allocation(Amount=9.99)],
        Permanent(
            "amount_mismatch",
            f"allocation {ALLOCATION_ID} says 9.99 EUR, 10.00 EUR was asked for: correct it in Xero by hand",
        ),
    ),
    (
        "twice",
        [allocation(), allocation(AllocationID=PAYMENT_ID)],
        Permanent(
            "booked_twice",
            f"several allocations in Xero are for {STEP}: {ALLOCATION_ID}, {PAYMENT_ID}. Undo all but one.",
        ),
    ),
    ("not an object", ["x"], Unknown("Xero answered with an allocation that cannot be read")),
    (
        "no amount",
        [allocation(Amount=None)],
        Unknown("Xero answered with an allocation whose amount cannot be read"),
    ),
]


@pytest.mark.parametrize(("_case", "parts", "expected"), ALLOCATIONS)
def test_the_answer_to_an_allocation_is_compared_with_what_was_asked(
    _case: str, parts: list[object], expected: object
) -> None:
    assert xero(FakeHttp(answer(200, {"Allocations": parts}))).allocate_credit(ALLOCATE) == expected


def test_an_answer_without_our_allocation_is_unknown() -> None:
    vendor = FakeHttp(answer(200, {"Allocations": [ELSEWHERE]}))

    assert xero(vendor).allocate_credit(ALLOCATE) == Unknown(
        "Xero answered without the allocation that was asked for"
    )


@pytest.mark.parametrize(
    ("_case", "parts", "expected"),
    [
        *ALLOCATIONS,
        (
            "none",
            [],
            NotFound(60.0, f"nothing of the credit note is allocated to invoice {INVOICE_ID}"),
        ),
        (
            "taken back",
            [allocation(IsDeleted=True), ELSEWHERE],
            NotFound(60.0, f"nothing of the credit note is allocated to invoice {INVOICE_ID}"),
        ),
    ],
)
def test_an_allocation_is_looked_for_on_the_note(_case: str, parts: list[object], expected: object) -> None:
    vendor = FakeHttp(notes(note(Allocations=parts)))

    assert xero(vendor).find_allocate_credit(ALLOCATE) == expected
    assert vendor.calls == [f"GET /CreditNotes/{NOTE_ID}"]


# --- the cash refund ----------------------------------------------------------------------------------------


def test_a_refund_is_recorded_as_a_payment_on_the_note() -> None:
    vendor = FakeHttp(answer(200, {"Payments": [payment()]}))

    assert xero(vendor).record_refund(REFUND) == Done(PAYMENT_ID)
    assert vendor.calls == ["PUT /Payments"]
    assert vendor.requests[0].headers == {"Idempotency-Key": KEY}
    assert vendor.requests[0].json == {
        "Payments": [
            {
                "CreditNote": {"CreditNoteID": NOTE_ID},
                "Account": {"Code": "092"},
                "Date": "2026-11-23",
                "Amount": 25.5,
                "Reference": f"{STEP} re_3Abc",
            }
        ]
    }


@pytest.mark.parametrize(
    ("refund_reference", "expected"),
    [("", STEP), ("re_1", f"{STEP} re_1"), ("x" * 300, f"{STEP} {'x' * 222}")],
)
def test_a_payment_reference_starts_with_our_key_and_fits(refund_reference: str, expected: str) -> None:
    vendor = FakeHttp(answer(200, {"Payments": [payment()]}))

    xero(vendor).record_refund(replace(REFUND, refund_reference=refund_reference))

    assert vendor.requests[0].json["Payments"][0]["Reference"] == expected
    assert len(expected) <= 255


@pytest.mark.parametrize(
    ("_case", "changes", "expected"),
    [
        ("as asked", {}, Done(PAYMENT_ID)),
        ("no document told", {"Invoice": None}, Done(PAYMENT_ID)),
        (
            "another amount",
            {"Amount": 2.55},
            Permanent(
                "amount_mismatch",
                f"payment {PAYMENT_ID} says 2.55 EUR, 25.50 EUR was asked for: correct it in Xero by hand",
            ),
        ),
        (
            "another currency",
            {"CreditNote": {"CurrencyCode": "NZD"}},
            Permanent(
                "amount_mismatch",
                f"payment {PAYMENT_ID} says 25.50 NZD, 25.50 EUR was asked for: correct it in Xero by hand",
            ),
        ),
        ("deleted", {"Status": "DELETED"}, Unknown("Xero answered with a payment in status DELETED")),
        ("no id", {"PaymentID": None}, Unknown("Xero answered with a payment whose fields cannot be read")),
        ("text", {"Amount": "25.50"}, Unknown("Xero answered with a payment whose fields cannot be read")),
    ],
)
def test_the_answer_to_a_payment_is_compared_with_what_was_asked(
    _case: str, changes: dict[str, Any], expected: object
) -> None:
    assert xero(FakeHttp(answer(200, {"Payments": [payment(**changes)]}))).record_refund(REFUND) == expected


ABSENT = NotFound(60.0, "no payment with our reference on the credit note")


@pytest.mark.parametrize(
    ("_case", "paid", "expected"),
    [
        ("ours", [payment()], Done(PAYMENT_ID)),
        ("ours, as a note lists it", [{"PaymentID": PAYMENT_ID, "Amount": 25.5, "Reference": STEP}], Done(PAYMENT_ID)),
        ("ours, cut short", [payment(Reference=f"{STEP} re_")], Done(PAYMENT_ID)),
        ("none", [], ABSENT),
        ("a longer key", [payment(Reference=f"{STEP}0 re_3Abc")], ABSENT),
        ("another case", [payment(Reference="re_3Abc")], ABSENT),
        ("no reference, another amount", [payment(Reference="", Amount=1)], ABSENT),
        (
            "deleted by a person",
            [payment(Status="DELETED")],
            Permanent("deleted", f"payment {PAYMENT_ID} was recorded and is deleted since: a person undid it"),
        ),
        (
            "another amount",
            [payment(Amount=20)],
            Permanent(
                "amount_mismatch",
                f"payment {PAYMENT_ID} says 20.00 EUR, 25.50 EUR was asked for: correct it in Xero by hand",
            ),
        ),
        (
            "twice",
            [payment(), payment(PaymentID=ALLOCATION_ID)],
            Permanent(
                "booked_twice",
                f"several payments in Xero are for {STEP}: {PAYMENT_ID}, {ALLOCATION_ID}. Undo all but one.",
            ),
        ),
        (
            "matched by a bookkeeper",
            [payment(Reference="")],
            Permanent(
                "ambiguous_payment",
                f"payment {PAYMENT_ID} over 25.50 EUR is on the credit note without our reference. If it is this refund, "
                "resolve this step with its id; if not, add any reference to it in Xero and replay.",
            ),
        ),
        ("not an object", [7], Unknown("Xero answered with a payment that cannot be read")),
    ],
)  # fmt: skip
def test_a_payment_is_looked_for_on_the_note_by_our_whole_key(
    _case: str, paid: list[object], expected: object
) -> None:
    vendor = FakeHttp(notes(note(Payments=paid)))

    assert xero(vendor).find_record_refund(REFUND) == expected
    assert vendor.calls == [f"GET /CreditNotes/{NOTE_ID}"]


@pytest.mark.parametrize("status", ["VOIDED", "DELETED"])
@pytest.mark.parametrize("paid", [[], [payment()]])
def test_nothing_on_a_note_that_was_undone_counts(status: str, paid: list[object]) -> None:
    undone = notes(note(Status=status, Payments=paid, Allocations=[allocation()]))
    expected = Permanent("voided", f"credit note {NOTE_ID} is {status}: a person undid it")

    assert xero(FakeHttp(undone)).find_record_refund(REFUND) == expected
    assert xero(FakeHttp(undone)).find_allocate_credit(ALLOCATE) == expected


@pytest.mark.parametrize(
    "answered",
    [
        notes(note(CreditNoteID=CONTACT_ID)),
        notes(),
        notes(note(), note()),
        notes(note(Payments=None, Allocations=None)),
    ],
)
def test_a_look_at_another_note_or_at_half_a_note_proves_nothing(answered: Response) -> None:
    assert xero(FakeHttp(answered)).find_record_refund(REFUND) == Unknown("unreadable answer, status 200")
    assert xero(FakeHttp(answered)).find_allocate_credit(ALLOCATE) == Unknown("unreadable answer, status 200")


# --- refusals, for every write ------------------------------------------------------------------------------

Write = Callable[[Xero], object]
READABLE = invoices(invoice(**OPEN))
#: A write, what is read before it, its refusal inside a 200, the look that finds it done, its proof, the
#: empty look.
WRITES: dict[str, tuple[Write, list[Response], Response, Response, AlreadyDone, Response]] = {
    "void_invoice": (
        lambda x: x.void_invoice(VOID),
        [READABLE],
        invoices(invoice(StatusAttributeString="ERROR", ValidationErrors=[{"Message": "Locked"}])),
        invoices(invoice(Status="VOIDED")),
        AlreadyDone(INVOICE_ID, "VOIDED"),
        READABLE,
    ),
    "credit_note": (
        lambda x: x.credit_note(NOTE),
        [],
        notes(note(HasErrors=True, ValidationErrors=[{"Message": "Locked"}])),
        notes(note()),
        AlreadyDone(NOTE_ID),
        notes(),
    ),
    "allocate_credit": (
        lambda x: x.allocate_credit(ALLOCATE),
        [],
        answer(200, {"Allocations": [allocation(ValidationErrors=[{"Message": "Locked"}])]}),
        notes(note(Allocations=[allocation()])),
        AlreadyDone(ALLOCATION_ID),
        notes(note()),
    ),
    "record_refund": (
        lambda x: x.record_refund(REFUND),
        [],
        answer(200, {"Payments": [payment(HasValidationErrors=True, ValidationErrors=[{"Message": "Locked"}])]}),
        notes(note(Payments=[payment()])),
        AlreadyDone(PAYMENT_ID),
        notes(note()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("is_inside_200", [False, True])
def test_a_refused_write_that_is_there_all_the_same_is_already_done(name: str, is_inside_200: bool) -> None:
    write, before, inside, there, proof, _ = WRITES[name]
    vendor = FakeHttp(*before, inside if is_inside_200 else refused("Number is not unique"), there)

    assert write(xero(vendor)) == proof
    assert len(vendor.calls) == len(before) + 2
    assert vendor.calls[-1].startswith("GET ")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("is_inside_200", [False, True])
def test_a_refused_write_that_is_not_there_is_a_no_with_every_message(name: str, is_inside_200: bool) -> None:
    write, before, inside, _, _, absent = WRITES[name]
    vendor = FakeHttp(*before, inside if is_inside_200 else refused("Locked", "Too late", "Locked"), absent)

    assert write(xero(vendor)) == Permanent("validation", "Locked" if is_inside_200 else "Locked; Too late")
    assert len(vendor.calls) == len(before) + 2


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"HasErrors": True}, "the credit note came back with errors"),
        ({"HasValidationErrors": True}, "the credit note came back with errors"),
        ({"StatusAttributeString": "ERROR"}, "the credit note came back with errors"),
        ({"ValidationErrors": [{"Message": "Locked"}]}, "Locked"),
    ],
)
def test_each_mark_of_refusal_inside_a_200_is_enough(marks: dict[str, object], said: str) -> None:
    assert xero(FakeHttp(notes(note(**marks)), notes())).credit_note(NOTE) == Permanent("validation", said)


@pytest.mark.parametrize(
    "marks", [{"ValidationErrors": []}, {"StatusAttributeString": "OK"}, {"Warnings": [{"Message": "x"}]}]
)
def test_a_warning_is_no_refusal(marks: dict[str, object]) -> None:
    assert xero(FakeHttp(notes(note(**marks)))).credit_note(NOTE) == Done(NOTE_ID)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(
    ("look", "trouble"),
    [
        (answer(502, "<html>"), "unreadable answer, status 502"),
        (refused("bad filter"), "unreadable answer, status 400"),
        (answer(404, "not found"), "unreadable answer, status 404"),
        (answer(429, {}, {"X-Rate-Limit-Problem": "minute"}), "Xero's rate limit is reached: minute"),
    ],
)
def test_a_refused_write_is_unknown_when_the_look_fails_too(name: str, look: Response, trouble: str) -> None:
    write, before, *_ = WRITES[name]
    vendor = FakeHttp(*before, refused("Locked"), look)

    assert write(xero(vendor)) == Unknown(
        f"refused (Locked), and the look did not tell whether it is there: {trouble}"
    )


@pytest.mark.parametrize(
    ("_case", "body", "said"),
    [
        ("elements without messages", {"Message": "A validation exception occurred", "Elements": []}, "A validation exception occurred"),
        ("a bare message", {"Message": "The request is too old"}, "The request is too old"),
        ("no message", {"Elements": None}, "refused without a message"),
        ("errors on top", {"ValidationErrors": [{"Message": "One"}, {"Message": 2}, 3]}, "One"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_words_that_came(_case: str, body: object, said: str) -> None:
    vendor = FakeHttp(answer(400, body), notes())

    assert xero(vendor).credit_note(NOTE) == Permanent("validation", said)


HOUSE = "check the client id, its secret and scopes, and that the custom connection to the organisation is still there"


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(
    ("_case", "answered", "expected"),
    [
        ("throttled", answer(429, {}, {"Retry-After": "17", "X-Rate-Limit-Problem": "day"}),
         Retryable("throttled", "Xero's rate limit is reached: day", 17.0)),
        ("throttled, no hint", answer(429, ""), Retryable("throttled", "Xero's rate limit is reached: not named")),
        ("token", answer(401, {"Title": "Unauthorized"}), Retryable("unauthorised", f"Xero answered 401: {HOUSE}")),
        ("scope", answer(403, "no"), Retryable("unauthorised", f"Xero answered 403: {HOUSE}")),
        ("gone", answer(404, "no such resource"),
         Permanent("not_found", "Xero has no such document: it was removed, or belongs to another organisation")),
        ("precondition", answer(412, {}), Permanent("precondition", "Xero refused the call's precondition")),
        ("broken", answer(500, {}), Unknown("unreadable answer, status 500")),
        ("offline", answer(503, "The organisation is offline"), Unknown("unreadable answer, status 503")),
        ("gateway", answer(504, "<html>"), Unknown("unreadable answer, status 504")),
        ("html with 200", answer(200, "<html>"), Unknown("unreadable answer, status 200")),
        ("html with 400", answer(400, "<html>"), Unknown("unreadable answer, status 400")),
        ("empty", answer(200, ""), Unknown("unreadable answer, status 200")),
        ("null", answer(200, None), Unknown("unreadable answer, status 200")),
        ("a list", answer(200, []), Unknown("unreadable answer, status 200")),
        ("an empty object", answer(200, {}), Unknown("unreadable answer, status 200")),
        ("a redirect", answer(302, ""), Unknown("unreadable answer, status 302")),
    ],
)  # fmt: skip
def test_only_an_explicit_yes_or_no_ends_a_write(
    name: str, _case: str, answered: Response, expected: object
) -> None:
    write, before, *_ = WRITES[name]
    vendor = FakeHttp(*before, answered)

    assert write(xero(vendor)) == expected
    assert len(vendor.calls) == len(before) + 1


LOOKS: dict[str, Write] = {
    "find_void_invoice": lambda x: x.find_void_invoice(VOID),
    "find_credit_note": lambda x: x.find_credit_note(NOTE),
    "find_allocate_credit": lambda x: x.find_allocate_credit(ALLOCATE),
    "find_record_refund": lambda x: x.find_record_refund(REFUND),
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 429, 500, 502, 503, 504])
def test_a_look_that_fails_is_never_taken_for_the_effect_s_own_end(name: str, status: int) -> None:
    assert isinstance(LOOKS[name](xero(FakeHttp(answer(status, "<html>")))), Unknown)


@pytest.mark.parametrize(
    ("_case", "answered", "expected"),
    [
        ("refused", refused("bad number"), Permanent("validation", "bad number")),
        ("throttled", answer(429, {}, {"Retry-After": "3", "X-Rate-Limit-Problem": "minute"}),
         Retryable("throttled", "Xero's rate limit is reached: minute", 3.0)),
        ("scope", answer(403, ""), Retryable("unauthorised", f"Xero answered 403: {HOUSE}")),
        ("offline", answer(503, {}, {"Retry-After": "30"}), Retryable("unavailable", "Xero answered 503", 30.0)),
        ("html", answer(200, "<html>"), Unknown("unreadable answer, status 200")),
        ("not found", answer(404, "x"), Unknown("unreadable answer, status 404")),
    ],
)  # fmt: skip
def test_an_invoice_that_cannot_be_read_says_whether_to_come_again(
    _case: str, answered: Response, expected: object
) -> None:
    assert xero(FakeHttp(answered)).read_invoice("INV-1042") == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from([STEP, NUMBER, NOTE_ID, INVOICE_ID, "ACCRECCREDIT", "ACCREC", "AUTHORISED", "EUR"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["Invoices", "CreditNotes", "Allocations", "Payments", "Organisations", "Elements", "ValidationErrors",
             "Message", "Status", "Type", "Total", "Amount", "CurrencyCode", "CreditNoteID", "InvoiceID", "Invoice",
             "PaymentID", "Reference", "InvoiceNumber", "CreditNoteNumber", "LineItems", "pagination", "pageCount",
             "Name", "BaseCurrency", "PeriodLockDate"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(body=JSON, status=st.sampled_from([200, 400, 404, 500]))
def test_no_answer_of_any_shape_raises_and_only_a_200_can_be_a_yes(body: Any, status: int) -> None:
    answered = Response(status, {}, b"", body)

    xero(FakeHttp(answered)).check()
    xero(FakeHttp(answered)).read_invoice("INV-1042")
    for look in LOOKS.values():
        assert not isinstance(look(xero(FakeHttp(answered))), Done) or status == 200
    for write, before, *_ in WRITES.values():
        assert not isinstance(write(xero(FakeHttp(*before, answered, answered))), Done) or status == 200


def without(document: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != field}


@pytest.mark.parametrize("field", ["CreditNoteID", "Reference", "Status", "Total", "CurrencyCode"])
def test_a_written_note_with_a_field_missing_is_unknown(field: str) -> None:
    assert isinstance(xero(FakeHttp(notes(without(note(), field)))).credit_note(NOTE), Unknown)


@pytest.mark.parametrize("field", ["InvoiceID", "Status"])
def test_a_voided_invoice_with_a_field_missing_is_unknown(field: str) -> None:
    vendor = FakeHttp(READABLE, invoices(without(invoice(Status="VOIDED"), field)))

    assert isinstance(xero(vendor).void_invoice(VOID), Unknown)


@pytest.mark.parametrize("field", ["Invoice", "Amount"])
def test_an_allocation_with_a_field_missing_is_unknown(field: str) -> None:
    vendor = FakeHttp(answer(200, {"Allocations": [without(allocation(), field)]}))

    assert isinstance(xero(vendor).allocate_credit(ALLOCATE), Unknown)


@pytest.mark.parametrize("field", ["PaymentID", "Amount", "Status"])
def test_a_payment_with_a_field_missing_is_unknown(field: str) -> None:
    vendor = FakeHttp(answer(200, {"Payments": [without(payment(), field)]}))

    assert isinstance(xero(vendor).record_refund(REFUND), Unknown)


# --- numbers, dates, set-up ---------------------------------------------------------------------------------


@given(minor=st.integers(0, 10**14), currency=st.sampled_from(["EUR", "JPY", "KWD"]))
def test_an_amount_is_written_on_the_wire_exactly(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert Decimal(json.dumps(number_of(money))) == Decimal(money.major)


@pytest.mark.parametrize(
    ("minor", "text"), [(2550, "25.5"), (10, "0.1"), (30, "0.3"), (1, "0.01"), (4600, "46"), (1999999999999, "19999999999.99")]
)  # fmt: skip
def test_an_amount_on_the_wire_shows_no_float_noise(minor: int, text: str) -> None:
    assert json.dumps(number_of(eur(minor))) == text


def test_an_amount_without_end_is_unreadable_and_costs_no_time() -> None:
    body = json.dumps({"CreditNotes": [note()]}).replace("46.0", "1e999999999").encode()
    vendor = FakeHttp(Response(200, {}, body, parse_json(body)))

    assert xero(vendor).credit_note(NOTE) == Unknown(
        "Xero answered with a credit note whose fields cannot be read"
    )


def test_a_key_as_we_mint_it_fits_xero_s_128_characters() -> None:
    step_key = mint_step_key(mint_case_id(TODAY_AT, 2**30 - 1), "post_ledger", 999)

    assert len(wire_key(step_key, 99)) <= 128


ORGANISATION = {"Name": "Demo Company (NZ)", "BaseCurrency": "NZD"}


@pytest.mark.parametrize(
    ("_case", "answered", "expected"),
    [
        ("no locks", answer(200, {"Organisations": [ORGANISATION]}),
         Health(True, "Demo Company (NZ), base currency NZD, no lock date")),
        ("locked", answer(200, {"Organisations": [ORGANISATION | {
            "PeriodLockDate": "/Date(1546214400000+0000)/", "EndOfYearLockDate": "/Date(1522454400000)/"}]}),
         Health(True, "Demo Company (NZ), base currency NZD, locked to 2018-12-31, year locked to 2018-03-31")),
        ("a lock in another form", answer(200, {"Organisations": [ORGANISATION | {"PeriodLockDate": "soon"}]}),
         Health(True, "Demo Company (NZ), base currency NZD, locked to soon")),
        ("no access", answer(403, ""), Health(False, f"Xero answered 403: {HOUSE}")),
        ("throttled", answer(429, ""), Health(False, "Xero's rate limit is reached: not named")),
        ("html", answer(200, "<html>"), Health(False, "unreadable answer, status 200")),
    ],
)  # fmt: skip
def test_the_check_names_the_organisation_and_its_lock_dates(
    _case: str, answered: Response, expected: Health
) -> None:
    vendor = FakeHttp(answered)

    assert xero(vendor).check() == expected
    assert vendor.calls == ["GET /Organisation"]


def test_a_connection_asks_for_json_and_names_its_organisation() -> None:
    wire = FakeWire()
    built = build(Credentials("id", Secret("s3cret"), tenant_id="b2c885a9"), wire, today=lambda: TODAY)

    token_connection, connection = wire.made
    assert connection["base_url"] == "https://api.xero.com/api.xro/2.0"
    assert connection["headers"] == {"Accept": "application/json", "xero-tenant-id": "b2c885a9"}
    assert isinstance(connection["tokens"], FixedTokens)
    assert connection["redact"] == SPEC.redact
    assert "tokens" not in token_connection
    assert built.today() == TODAY


def test_a_custom_connection_needs_no_tenant_id() -> None:
    wire = FakeWire()
    build(Credentials("id", Secret("s3cret")), wire)

    assert wire.made[1]["headers"] == {"Accept": "application/json"}


def test_a_token_is_asked_for_with_granular_scopes_and_basic_authorisation() -> None:
    wire = FakeWire()
    build(Credentials("id", Secret("s3cret")), wire)

    assert wire.token_requests == [
        Request(
            "POST",
            "https://identity.xero.com/connect/token",
            "xero.token",
            headers={"Accept": "application/json"},
            form=(
                ("grant_type", "client_credentials"),
                ("scope", "accounting.invoices accounting.payments accounting.settings.read"),
            ),
            auth=("id", "s3cret"),
        )
    ]


def test_our_pace_stays_below_sixty_calls_in_any_minute() -> None:
    assert SPEC.burst + 60 * SPEC.rate_per_s <= 60
    assert SPEC.burst <= 5
