"""Xero against its published description (Accounting API 16.1.0): what we send, what we are tested on, what
it shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Health
from refundflow.connectors.xero import SPEC, Credentials, Xero, standing_headers
from refundflow.domain.commands import AllocateCredit, CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceLine, InvoiceState
from refundflow.domain.ids import StepKey
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent
from refundflow.settings import Secret
from refundflow.transport.base import Response
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_request, check_response, load, specs

STEP = StepKey("RF-01JQZ7K3M0ABCDE.post_ledger.1")
KEY = f"refundflow:{STEP}:1"
INVOICE_ID = "a03ffcd2-5d91-4c7e-b483-318584e9e439"
NOTE_ID = "249f15fa-f2a7-4acc-8769-0984103f2225"
PAYMENT_ID = "6b037c9b-2e5d-4905-84d3-eabfb3438242"
CONTACT_ID = "430fa14a-f945-44d3-9f97-5df5e28441b8"
NUMBER = "CN-RF-01JQZ7K3M0ABCDE-1"


@pytest.fixture
def description() -> Path:
    return specs("xero") / "accounting.openapi.json"


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


FACTS = InvoiceFacts(
    platform="xero",
    invoice_id=INVOICE_ID,
    number="INV-1042",
    state=InvoiceState.OPEN,
    contact_id=CONTACT_ID,
    total=eur(4600),
    due=eur(4600),
    paid=eur(0),
    credited=eur(0),
    lines=(InvoiceLine("Desk lamp", eur(3650), "200", "OUTPUT2"), InvoiceLine("Gift", eur(950), "200", "NONE")),
    line_amount_types="Inclusive",
)  # fmt: skip
VOID = VoidInvoice(step_key=STEP, key=KEY, invoice=FACTS)
NOTE = CreditNote(
    step_key=STEP, key=KEY, invoice=FACTS, amount=eur(4600), number=NUMBER, memo="Order 1042 cancelled"
)
ALLOCATE = AllocateCredit(
    step_key=STEP, key=KEY, invoice_id=INVOICE_ID, amount=eur(2050), credit_note_id=NOTE_ID
)
REFUND = RecordRefund(
    step_key=STEP,
    key=KEY,
    amount=eur(2550),
    account_code="092",
    credit_note_id=NOTE_ID,
    refund_reference="re_3Abc",
)


def invoices(**changes: Any) -> dict[str, Any]:
    invoice = {
        "Type": "ACCREC",
        "InvoiceID": INVOICE_ID,
        "InvoiceNumber": "INV-1042",
        "Status": "AUTHORISED",
        "Contact": {"ContactID": CONTACT_ID},
        "LineAmountTypes": "Inclusive",
        "LineItems": [
            {"Description": "Desk lamp", "LineAmount": 36.5, "AccountCode": "200", "TaxType": "OUTPUT2"},
            {"Description": "Gift", "LineAmount": 9.5, "AccountCode": "200", "TaxType": "NONE"},
        ],
        "Total": 46.0,
        "AmountDue": 46.0,
        "AmountPaid": 0.0,
        "AmountCredited": 0.0,
        "CurrencyCode": "EUR",
        "HasErrors": False,
    }
    return {"Invoices": [invoice | changes]}


def allocations() -> dict[str, Any]:
    return {"Allocations": [{"Amount": 20.5, "Date": "2026-11-23", "Invoice": {"InvoiceID": INVOICE_ID}}]}


def payments() -> dict[str, Any]:
    payment = {
        "PaymentID": PAYMENT_ID,
        "Amount": 25.5,
        "Reference": f"{STEP} re_3Abc",
        "Status": "AUTHORISED",
        "PaymentType": "ARCREDITPAYMENT",
        "HasValidationErrors": False,
        "Invoice": {"Type": "ACCRECCREDIT", "InvoiceID": NOTE_ID, "CurrencyCode": "EUR"},
    }
    return {"Payments": [payment]}


def notes(**changes: Any) -> dict[str, Any]:
    note = {
        "CreditNoteID": NOTE_ID,
        "CreditNoteNumber": NUMBER,
        "Type": "ACCRECCREDIT",
        "Reference": STEP,
        "Status": "AUTHORISED",
        "Total": 46.0,
        "RemainingCredit": 0.0,
        "CurrencyCode": "EUR",
        "HasErrors": False,
        **allocations(),
        "Payments": [{"PaymentID": PAYMENT_ID, "Amount": 25.5, "Reference": f"{STEP} re_3Abc"}],
    }
    return {"CreditNotes": [note | changes]}


REFUSAL = {
    "ErrorNumber": 10,
    "Type": "ValidationException",
    "Message": "A validation exception occurred",
    "Elements": [{"ValidationErrors": [{"Message": "Credit note # must be unique."}]}],
}
ORGANISATION = {
    "Name": "Demo Company (NZ)",
    "BaseCurrency": "NZD",
    "PeriodLockDate": "/Date(1546214400000+0000)/",
}

Call = tuple[str, str, int, dict[str, Any]]
#: What is done, the calls it makes (method, path as described, status, answer), what it comes to.
JOURNEYS: dict[str, tuple[Callable[[Xero], object], list[Call], object]] = {
    "check": (
        lambda x: x.check(),
        [("GET", "/Organisation", 200, {"Organisations": [ORGANISATION]})],
        Health(True, "Demo Company (NZ), base currency NZD, locked to 2018-12-31"),
    ),
    "read_invoice": (lambda x: x.read_invoice("INV-1042"), [("GET", "/Invoices", 200, invoices())], FACTS),
    "void_invoice": (
        lambda x: x.void_invoice(VOID),
        [
            ("GET", "/Invoices/{InvoiceID}", 200, invoices()),
            ("POST", "/Invoices/{InvoiceID}", 200, invoices(Status="VOIDED")),
        ],
        Done(INVOICE_ID, "VOIDED"),
    ),
    "void_invoice, refused": (
        lambda x: x.void_invoice(VOID),
        [
            ("GET", "/Invoices/{InvoiceID}", 200, invoices()),
            ("POST", "/Invoices/{InvoiceID}", 400, REFUSAL),
            ("GET", "/Invoices/{InvoiceID}", 200, invoices(Status="VOIDED")),
        ],
        AlreadyDone(INVOICE_ID, "VOIDED"),
    ),
    "find_void_invoice": (
        lambda x: x.find_void_invoice(VOID),
        [("GET", "/Invoices/{InvoiceID}", 200, invoices())],
        NotFound(60.0, "the invoice is AUTHORISED"),
    ),
    "credit_note": (lambda x: x.credit_note(NOTE), [("PUT", "/CreditNotes", 200, notes())], Done(NOTE_ID)),
    "credit_note, refused": (
        lambda x: x.credit_note(NOTE),
        [("PUT", "/CreditNotes", 400, REFUSAL), ("GET", "/CreditNotes", 200, {"CreditNotes": []})],
        Permanent("validation", "Credit note # must be unique."),
    ),
    "find_credit_note": (
        lambda x: x.find_credit_note(NOTE),
        [("GET", "/CreditNotes", 200, notes())],
        Done(NOTE_ID),
    ),
    "allocate_credit": (
        lambda x: x.allocate_credit(ALLOCATE),
        [("PUT", "/CreditNotes/{CreditNoteID}/Allocations", 200, allocations())],
        Done(NOTE_ID),
    ),
    "find_allocate_credit": (
        lambda x: x.find_allocate_credit(ALLOCATE),
        [("GET", "/CreditNotes/{CreditNoteID}", 200, notes())],
        Done(NOTE_ID),
    ),
    "record_refund": (
        lambda x: x.record_refund(REFUND),
        [("PUT", "/Payments", 200, payments())],
        Done(PAYMENT_ID),
    ),
    "find_record_refund": (
        lambda x: x.find_record_refund(REFUND),
        [("GET", "/CreditNotes/{CreditNoteID}", 200, notes())],
        Done(PAYMENT_ID),
    ),
}


@pytest.mark.parametrize("name", JOURNEYS)
def test_requests_and_canned_answers_are_as_described(name: str, description: Path) -> None:
    act, calls, expected = JOURNEYS[name]
    http = FakeHttp(*[answer(status, body) for _, _, status, body in calls])

    assert act(Xero(http, lambda: date(2026, 11, 23))) == expected
    assert http.is_drained
    for (method, path, status, body), request in zip(calls, http.requests, strict=True):
        check_request(description, method, path, request)
        check_response(description, method, path, status, body, declared_only=True)


@pytest.mark.parametrize("name", JOURNEYS)
def test_every_write_carries_a_key_where_the_description_has_one(name: str, description: Path) -> None:
    act, calls, _ = JOURNEYS[name]
    http = FakeHttp(*[answer(status, body) for _, _, status, body in calls])

    act(Xero(http, lambda: date(2026, 11, 23)))

    paths = load(description)["paths"]
    for (method, path, _, _), request in zip(calls, http.requests, strict=True):
        references = [p.get("$ref", "") for p in paths[path][method.lower()].get("parameters", [])]
        has_key = "#/components/parameters/idempotencyKey" in references
        assert dict(request.headers) == ({"Idempotency-Key": KEY} if has_key else {})
        assert has_key == (method != "GET")


def test_the_tenant_header_is_the_one_described(description: Path) -> None:
    described = load(description)["components"]["parameters"]["requiredHeader"]["name"]
    headers = standing_headers(Credentials("id", Secret("s3cret"), tenant_id="b2c885a9"))

    assert headers == {"Accept": "application/json", described: "b2c885a9"}


def test_the_base_address_is_the_one_described(description: Path) -> None:
    assert [server["url"] for server in load(description)["servers"]] == [SPEC.base_url]


def test_every_described_status_of_an_invoice_is_understood(description: Path) -> None:
    statuses = load(description)["components"]["schemas"]["Invoice"]["properties"]["Status"]["enum"]

    for status in statuses:
        found = Xero(FakeHttp(answer(200, invoices(Status=status)))).read_invoice("INV-1042")
        assert isinstance(found, InvoiceFacts), status


def example(description: Path, path: str, method: str = "get") -> Response:
    """The description's own example of an answer."""
    content = load(description)["paths"][path][method]["responses"]["200"]["content"]["application/json"]
    return answer(200, content["example"])


def nzd(minor: int) -> Money:
    return Money(minor, "NZD")


def test_the_described_list_of_invoices_is_read(description: Path) -> None:
    assert Xero(FakeHttp(example(description, "/Invoices"))).read_invoice("INV-0002") == InvoiceFacts(
        platform="xero",
        invoice_id="046d8a6d-1ae1-4b4d-9340-5601bdf41b87",
        number="INV-0002",
        state=InvoiceState.PAID,
        contact_id="a3675fc4-f8dd-4f03-ba5b-f1870566bcd7",
        total=nzd(4600),
        due=nzd(0),
        paid=nzd(4600),
        credited=nzd(0),
        lines=(),
        line_amount_types="Exclusive",
    )


def test_the_described_single_invoice_is_read_with_its_line(description: Path) -> None:
    assert Xero(FakeHttp(example(description, "/Invoices/{InvoiceID}"))).read_invoice("INV-0006") == InvoiceFacts(
        platform="xero",
        invoice_id=INVOICE_ID,
        number="INV-0006",
        state=InvoiceState.PAID,
        contact_id=CONTACT_ID,
        total=nzd(14806276),
        due=nzd(0),
        paid=nzd(14806276),
        credited=nzd(0),
        lines=(InvoiceLine("Guitars Fender Strat", nzd(14806276), "200", "NONE"),),
        line_amount_types="Exclusive",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/CreditNotes", "/CreditNotes/{CreditNoteID}"])
def test_the_described_credit_note_is_found_by_its_reference(path: str, description: Path) -> None:
    http = FakeHttp(example(description, path))
    wanted = CreditNote(
        step_key=StepKey("US Tour"), key=KEY, invoice=FACTS, amount=nzd(3450), number="CN-0005", memo=""
    )

    assert Xero(http).find_credit_note(wanted) == Done(NOTE_ID)


def test_the_described_payment_on_a_credit_note_is_found_by_its_reference(description: Path) -> None:
    """The example's reference has two words: its first one stands for our key."""
    http = FakeHttp(example(description, "/CreditNotes/{CreditNoteID}"))
    wanted = RecordRefund(
        step_key=StepKey("Too"), key=KEY, amount=nzd(200), account_code="980", credit_note_id=NOTE_ID
    )

    assert Xero(http).find_record_refund(wanted) == Done(PAYMENT_ID)


def test_the_described_answer_to_an_allocation_is_read(description: Path) -> None:
    http = FakeHttp(example(description, "/CreditNotes/{CreditNoteID}/Allocations", "put"))
    wanted = AllocateCredit(
        step_key=STEP,
        key=KEY,
        invoice_id="c45720a1-ade3-4a38-a064-d15489be6841",
        amount=nzd(100),
        credit_note_id="7be578f5-63af-45c8-9b00-dcc4732baf0b",
    )

    assert Xero(http).allocate_credit(wanted) == Done("7be578f5-63af-45c8-9b00-dcc4732baf0b")


def test_the_described_payment_that_exceeds_the_document_is_a_refusal(description: Path) -> None:
    http = FakeHttp(
        example(description, "/Payments", "put"),
        answer(200, notes(Payments=[])),
    )

    assert Xero(http).record_refund(REFUND) == Permanent(
        "validation", "Payment amount exceeds the amount outstanding on this document"
    )


def test_the_described_organisation_is_told(description: Path) -> None:
    assert Xero(FakeHttp(example(description, "/Organisation"))).check() == Health(
        True,
        "Dev Evangelist - Sid Test 3 (NZ-2016-02), base currency NZD, locked to 2018-12-31, year locked to 2018-12-31",
    )


def test_a_credit_note_goes_out_with_exact_amounts() -> None:
    http = FakeHttp(answer(200, notes()))

    Xero(http, lambda: date(2026, 11, 23)).credit_note(NOTE)

    assert '"UnitAmount": 36.5,' in json.dumps(http.sent.json)
    assert '"UnitAmount": 9.5,' in json.dumps(http.sent.json)
