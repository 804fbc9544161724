"""QuickBooks Online: what is sent for each kind of sale, what answers come to, and what no answer may become."""

from __future__ import annotations

import base64
import hashlib
import hmac
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
from refundflow.connectors.quickbooks_commerce import (
    REFUSALS,
    SETTLED_S,
    SPEC,
    Company,
    Credentials,
    Means,
    QuickBooksCommerce,
    QuickBooksInbound,
    build,
    document_number,
    quoted,
    request_id,
)
from refundflow.domain.commands import CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceLine, InvoiceState, RefundedBy
from refundflow.domain.ids import StepKey, mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, MalformedError, Refused, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Response
from refundflow.transport.http import write_json
from refundflow.transport.redact import Redaction
from tests.support.fake_http import FakeHttp, FakeWire, FixedTokens, answer

OPENED = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
CASE = mint_case_id(OPENED, 7)
STEP = mint_step_key(CASE, "post_ledger", 1)
KEY = wire_key(STEP, 1)
TODAY = date(2026, 11, 25)
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
REALM = "4620816365000000000"
BASE = f"/v3/company/{REALM}"
RECEIPT_NUMBER = f"RR{CASE.removeprefix('RF-')}-1"
MEMO_NUMBER = f"CN{CASE.removeprefix('RF-')}-1"
COMPANY = Company(REALM, "10", "NON", "4")


def usd(minor: int) -> Money:
    return Money(minor, "USD")


def books(vendor: FakeHttp, company: Company = COMPANY) -> QuickBooksCommerce:
    return QuickBooksCommerce(vendor, company, lambda: TODAY)


FACTS = InvoiceFacts(
    platform="quickbooks-commerce",
    invoice_id="130",
    number="INV-1042",
    state=InvoiceState.OPEN,
    contact_id="61",
    total=usd(4250),
    due=usd(4250),
    paid=usd(0),
    credited=usd(0),
    lines=(InvoiceLine("Clear acrylic sheet", usd(4250), "12", "NON", "1", "", 2),),
    document="Invoice",
    refunded_by=RefundedBy.RECEIPT,
    is_allocated=False,
)
SALE = replace(
    FACTS, invoice_id="47", document="SalesReceipt", state=InvoiceState.PAID, due=usd(0), paid=usd(4250)
)
REFUND = RecordRefund(
    step_key=STEP,
    key=KEY,
    amount=usd(2550),
    account_code="35",
    refund_reference="re_3Abc",
    invoice=SALE,
    number=f"RR-{CASE}-1",
    memo="Order #1042 cancelled",
)
NOTE = CreditNote(
    step_key=STEP,
    key=KEY,
    invoice=FACTS,
    amount=usd(2550),
    number=f"CN-{CASE}-1",
    memo="Order #1042 cancelled",
)
VOID = VoidInvoice(step_key=STEP, key=KEY, invoice=FACTS)
VOID_SALE = VoidInvoice(step_key=STEP, key=KEY, invoice=SALE)


def invoice(**changes: Any) -> dict[str, Any]:
    """An open invoice over 42.50 USD, as QuickBooks writes it."""
    return {
        "domain": "QBO",
        "sparse": False,
        "Id": "130",
        "SyncToken": "2",
        "DocNumber": "INV-1042",
        "TxnDate": "2026-11-20",
        "CurrencyRef": {"value": "USD", "name": "United States Dollar"},
        "LinkedTxn": [],
        "CustomerRef": {"value": "61", "name": "Ada Lovelace"},
        "BillEmail": {"Address": "ada@shop.example"},
        "Line": [
            {"Id": "1", "LineNum": 1, "Description": "Clear acrylic sheet", "Amount": 42.5,
             "DetailType": "SalesItemLineDetail",
             "SalesItemLineDetail": {"ItemRef": {"value": "12", "name": "Sheet"}, "Qty": 2, "UnitPrice": 21.25,
                                     "TaxCodeRef": {"value": "NON"}}},
            {"Id": "2", "DetailType": "DescriptionOnly", "Description": "Thank you"},
            {"Amount": 42.5, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}},
        ],
        "TotalAmt": 42.5,
        "Balance": 42.5,
    } | changes  # fmt: skip


def receipt(**changes: Any) -> dict[str, Any]:
    """A sales receipt over the same."""
    return invoice(Id="47", SyncToken="0", Balance=0) | changes


def refund(**changes: Any) -> dict[str, Any]:
    """Our refund receipt over 25.50 USD."""
    return {
        "Id": "501",
        "SyncToken": "0",
        "DocNumber": RECEIPT_NUMBER,
        "CurrencyRef": {"value": "USD"},
        "TotalAmt": 25.5,
        "PrivateNote": f"{STEP} | RR-{CASE}-1 | Order #1042 cancelled | refund re_3Abc | SalesReceipt INV-1042",
    } | changes


def memo(**changes: Any) -> dict[str, Any]:
    """Our credit memo over 25.50 USD, applied to the invoice that it is for."""
    return {
        "Id": "601",
        "SyncToken": "0",
        "DocNumber": MEMO_NUMBER,
        "CurrencyRef": {"value": "USD"},
        "TotalAmt": 25.5,
        "RemainingCredit": 0,
        "Balance": 0,
        "LinkedTxn": [{"TxnId": "130", "TxnType": "Invoice"}],
        "PrivateNote": f"{STEP} | CN-{CASE}-1 | Order #1042 cancelled | Invoice INV-1042",
    } | changes


def listed(kind: str = "", *rows: object) -> Response:
    found = {kind: list(rows), "startPosition": 1, "maxResults": len(rows)} if rows else {}
    return answer(200, {"QueryResponse": found, "time": "2026-11-25T12:00:00.000-08:00"})


def one(kind: str, row: object) -> Response:
    return answer(200, {kind: row, "time": "2026-11-25T12:00:00.000-08:00"})


def fault(
    code: str, status: int = 400, kind: str = "ValidationFault", message: str = "No", detail: str = "Really"
) -> Response:
    error = {"Message": message, "Detail": detail, "code": code, "element": ""}
    body = {"Fault": {"Error": [error], "type": kind}, "time": "2026-11-25T12:00:00.000-08:00"}
    return answer(status, body, {"intuit_tid": "1-abc"})


NONE = listed()

# --- reading a sale -----------------------------------------------------------------------------------------


def test_an_invoice_is_read_with_what_is_due() -> None:
    vendor = FakeHttp(listed("Invoice", invoice()), NONE)

    assert books(vendor).read_invoice("INV-1042") == FACTS
    assert vendor.calls == [f"GET {BASE}/query", f"GET {BASE}/query"]
    assert [dict(request.params)["query"] for request in vendor.requests] == [
        "select * from Invoice where DocNumber = 'INV-1042'",
        "select * from SalesReceipt where DocNumber = 'INV-1042'",
    ]
    assert {dict(request.params)["minorversion"] for request in vendor.requests} == {"75"}


def test_a_sales_receipt_is_paid_by_its_nature() -> None:
    assert books(FakeHttp(NONE, listed("SalesReceipt", receipt()))).read_invoice("INV-1042") == SALE


@pytest.mark.parametrize(
    ("_case", "changes", "expected"),
    [
        ("paid", {"Balance": 0}, {"state": InvoiceState.PAID, "due": usd(0), "paid": usd(4250)}),
        ("partly paid", {"Balance": 30}, {"due": usd(3000), "paid": usd(1250)}),
        (
            "credited alone",
            {"Balance": 30.0, "LinkedTxn": [{"TxnId": "9", "TxnType": "CreditMemo"}]},
            {"due": usd(3000), "credited": usd(1250)},
        ),
        (
            "credited beside an estimate",
            {"Balance": 30, "LinkedTxn": [{"TxnId": "9", "TxnType": "CreditMemo"}, {"TxnId": "8", "TxnType": "Estimate"}]},
            {"due": usd(3000), "credited": usd(1250)},
        ),
        (
            "paid and credited: nobody says how much each",
            {"Balance": 30, "LinkedTxn": [{"TxnId": "9", "TxnType": "CreditMemo"}, {"TxnId": "8", "TxnType": "Payment"}]},
            {"due": usd(3000), "paid": usd(1250)},
        ),
        (
            "void",
            {"TotalAmt": 0, "Balance": 0, "PrivateNote": "Voided", "Line": []},
            {"state": InvoiceState.VOIDED, "total": usd(0), "due": usd(0), "lines": ()},
        ),
        ("tax inside", {"GlobalTaxCalculation": "TaxInclusive"}, {"line_amount_types": "TaxInclusive"}),
        ("without a customer", {"CustomerRef": None}, {"contact_id": ""}),
        ("without lines", {"Line": []}, {"lines": ()}),
    ],
)  # fmt: skip
def test_what_an_invoice_says_of_itself(
    _case: str, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = books(FakeHttp(listed("Invoice", invoice(**changes)), NONE)).read_invoice("INV-1042")

    assert found == replace(FACTS, **expected)


def test_discounts_are_negative_lines_and_strange_quantities_are_not_told() -> None:
    lines = [
        {"Id": "1", "Amount": 50, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"Qty": Decimal("0.5")}},
        {"Id": "2", "Amount": 7.5, "DetailType": "DiscountLineDetail", "DiscountLineDetail": {}},
        {"Id": "3", "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}},
    ]  # fmt: skip

    found = books(FakeHttp(listed("Invoice", invoice(Line=lines)), NONE)).read_invoice("INV-1042")

    assert isinstance(found, InvoiceFacts)
    assert [(line.gross, line.quantity) for line in found.lines] == [(usd(5000), 0), (usd(-750), 0), (usd(0), 0)]  # fmt: skip


def test_a_quantity_with_a_monstrous_exponent_ends_nothing() -> None:
    body = (
        '{"QueryResponse": {"Invoice": [{"Id": "130", "DocNumber": "INV-1042", "CurrencyRef": {"value": "USD"},'
        ' "TotalAmt": 1, "Balance": 1, "Line": [{"Amount": 1, "DetailType": "SalesItemLineDetail",'
        ' "SalesItemLineDetail": {"Qty": 1.0e999999999}}]}]}}'
    )

    assert isinstance(books(FakeHttp(answer(200, body), NONE)).read_invoice("INV-1042"), InvoiceFacts)


@pytest.mark.parametrize(
    ("_case", "invoices", "receipts", "expected"),
    [
        ("neither", [], [], NotFound(reason="neither an Invoice nor a SalesReceipt INV-1042 in QuickBooks")),
        ("another spelling", [invoice(DocNumber="inv-1042")], [],
         NotFound(reason="neither an Invoice nor a SalesReceipt INV-1042 in QuickBooks")),
        ("a void one beside it", [invoice(Id="7", TotalAmt=0, PrivateNote="Voided - x"), invoice()], [], FACTS),
        ("a void one of the other kind", [invoice(TotalAmt=0, PrivateNote="Voided")], [receipt()], SALE),
        ("both kinds", [invoice()], [receipt()],
         Permanent("ambiguous",
                   "several sales in QuickBooks have the number INV-1042: Invoice 130, SalesReceipt 47")),
        ("two of a kind", [invoice(), invoice(Id="131")], [],
         Permanent("ambiguous", "several sales in QuickBooks have the number INV-1042: Invoice 130, Invoice 131")),
    ],
)  # fmt: skip
def test_the_one_sale_with_the_number_is_taken_and_never_the_first_of_several(
    _case: str, invoices: list[object], receipts: list[object], expected: object
) -> None:
    vendor = FakeHttp(listed("Invoice", *invoices), listed("SalesReceipt", *receipts))

    assert books(vendor).read_invoice("INV-1042") == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"Id": 130},
        {"Id": ""},
        {"TotalAmt": "42.50"},
        {"TotalAmt": None},
        {"TotalAmt": True},
        {"TotalAmt": 42.501},
        {"TotalAmt": Decimal("1e70")},
        {"Balance": None},
        {"CurrencyRef": {"value": "usd"}},
        {"CurrencyRef": {}},
        {"CurrencyRef": "USD"},
        {"Line": None},
        {"Line": ["x"]},
        {"Line": [{"Amount": "1", "DetailType": "SalesItemLineDetail"}]},
    ],
)
def test_a_sale_with_a_field_that_cannot_be_read_is_unknown(changes: dict[str, Any]) -> None:
    found = books(FakeHttp(listed("Invoice", invoice(**changes)), NONE)).read_invoice("INV-1042")

    assert isinstance(found, Unknown)


def test_a_sale_that_names_no_currency_is_in_the_companys_own_where_that_is_said() -> None:
    nameless = invoice()
    del nameless["CurrencyRef"]

    said = books(FakeHttp(listed("Invoice", nameless), NONE), replace(COMPANY, home_currency="USD"))
    unsaid = books(FakeHttp(listed("Invoice", nameless), NONE))

    assert said.read_invoice("INV-1042") == FACTS
    found = unsaid.read_invoice("INV-1042")
    assert isinstance(found, Permanent)
    assert found.code == "no_currency"
    assert "REFUNDFLOW_QUICKBOOKS_COMMERCE_HOME_CURRENCY" in found.reason


def test_amounts_have_the_decimals_of_their_currency() -> None:
    yen = invoice(CurrencyRef={"value": "JPY"}, TotalAmt=4250, Balance=4250.0, Line=[])
    dinar = invoice(CurrencyRef={"value": "KWD"}, TotalAmt=42.505, Balance=42.505, Line=[])

    for document, total in ((yen, Money(4250, "JPY")), (dinar, Money(42505, "KWD"))):
        found = books(FakeHttp(listed("Invoice", document), NONE)).read_invoice("INV-1042")
        assert isinstance(found, InvoiceFacts)
        assert found.total == total


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1042", "'1042'"), ("O'Brien", "'O\\'Brien'"), ("a\\b", "'a\\\\b'"), ("\\'", "'\\\\\\''")],
)
def test_values_cannot_leave_their_quotes(value: str, expected: str) -> None:
    assert quoted(value) == expected


# --- numbers and ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (f"RR-{CASE}-1", RECEIPT_NUMBER),
        (f"CN-{CASE}-12", f"{MEMO_NUMBER}2"),
        ("RF-1042-1", "RF-1042-1"),
        ("123456789012345678901", "123456789012345678901"),
    ],
)
def test_numbers_are_short_and_still_readable(number: str, expected: str) -> None:
    assert document_number(number, STEP) == expected


@given(st.text(max_size=60), st.integers(0, 2**30), st.integers(1, 99_999))
def test_a_number_fits_and_is_the_same_every_time(number: str, noise: int, counted: int) -> None:
    step = mint_step_key(mint_case_id(OPENED, noise), "post_ledger", counted)

    made = document_number(number, step)

    assert 0 < len(made) <= 21
    assert made == document_number(number, step)


def test_numbers_of_different_steps_differ_where_they_are_digests() -> None:
    steps = [mint_step_key(CASE, "post_ledger", n) for n in range(1, 200)]

    assert len({document_number("", step) for step in steps}) == len(steps)
    assert len({document_number("x" * 40, step) for step in steps}) == len(steps)


@pytest.mark.parametrize("length", [1, 45, 50, 51, 300])
def test_a_request_id_fits_and_differs_with_its_key(length: int) -> None:
    keys = ["a" * length, "a" * (length - 1) + "b"]

    ids = [request_id(key) for key in keys]

    assert all(0 < len(each) <= 50 for each in ids)
    assert len(set(ids)) == 2
    assert ids == [request_id(key) for key in keys]
    assert (ids == keys) is (length <= 50)


# --- refund receipts ----------------------------------------------------------------------------------------


def test_a_refund_receipt_names_everything() -> None:
    vendor = FakeHttp(NONE, one("RefundReceipt", refund()))

    assert books(vendor).record_refund(REFUND) == Done("501", f"RefundReceipt {RECEIPT_NUMBER}")
    look, sent = vendor.requests
    assert dict(look.params)["query"] == f"select * from RefundReceipt where DocNumber = '{RECEIPT_NUMBER}'"
    assert (sent.method, sent.path) == ("POST", f"{BASE}/refundreceipt")
    assert dict(sent.params) == {"minorversion": "75", "requestid": KEY}
    assert sent.json == {
        "DocNumber": RECEIPT_NUMBER,
        "TxnDate": "2026-11-25",
        "CurrencyRef": {"value": "USD"},
        "CustomerRef": {"value": "61"},
        "DepositToAccountRef": {"value": "35"},
        "PaymentMethodRef": {"value": "4"},
        "PaymentRefNum": "re_3Abc",
        "PrivateNote": f"{STEP} | RR-{CASE}-1 | Order #1042 cancelled | refund re_3Abc | SalesReceipt INV-1042",
        "Line": [
            {
                "Amount": Decimal("25.50"),
                "DetailType": "SalesItemLineDetail",
                "Description": "Order #1042 cancelled",
                "SalesItemLineDetail": {
                    "ItemRef": {"value": "10"},
                    "Qty": 1,
                    "UnitPrice": Decimal("25.50"),
                    "TaxCodeRef": {"value": "NON"},
                },
            }
        ],
    }
    assert '"Amount": 25.50,' in write_json(sent.json)


def test_what_is_not_set_is_not_sent() -> None:
    vendor = FakeHttp(NONE, one("RefundReceipt", refund()))
    bare = replace(REFUND, invoice=replace(SALE, contact_id=""), memo="", refund_reference="")

    books(vendor, Company(REALM, "10", "")).record_refund(bare)

    body = vendor.requests[1].json
    assert {"CustomerRef", "PaymentMethodRef", "PaymentRefNum"}.isdisjoint(body)
    assert "TaxCodeRef" not in body["Line"][0]["SalesItemLineDetail"]
    assert body["Line"][0]["Description"] == "Refund for INV-1042"
    assert body["PrivateNote"] == f"{STEP} | RR-{CASE}-1 | SalesReceipt INV-1042"


def test_a_long_payers_id_stands_in_the_note_and_is_never_cut_in_half() -> None:
    vendor = FakeHttp(NONE, one("RefundReceipt", refund()))
    reference = "re_3MmlLrLkdIwHu7ix0snN0B15"

    books(vendor).record_refund(replace(REFUND, refund_reference=reference))

    assert "PaymentRefNum" not in vendor.requests[1].json
    assert reference in vendor.requests[1].json["PrivateNote"]


def test_texts_keep_to_their_lengths_with_our_reference_in_front() -> None:
    vendor = FakeHttp(NONE, one("RefundReceipt", refund()))

    books(vendor).record_refund(replace(REFUND, memo="x" * 9000))

    body = vendor.requests[1].json
    assert len(body["PrivateNote"]) == 4000
    assert body["PrivateNote"].split()[0] == STEP
    assert len(body["Line"][0]["Description"]) == 4000


@pytest.mark.parametrize(
    ("_case", "command", "code"),
    [
        ("no sale", replace(REFUND, invoice=None), "no_sale"),
        ("another currency", replace(REFUND, amount=Money(2550, "EUR")), "currency_mismatch"),
        ("nothing", replace(REFUND, amount=usd(0)), "no_amount"),
        ("less than nothing", replace(REFUND, amount=usd(-1)), "no_amount"),
    ],
)
def test_a_receipt_that_cannot_be_is_not_sent(_case: str, command: RecordRefund, code: str) -> None:
    vendor = FakeHttp()

    for outcome in (books(vendor).record_refund(command), books(vendor).find_record_refund(command)):
        assert isinstance(outcome, Permanent)
        assert outcome.code == code
    assert vendor.calls == []


#: What a document under our number or with our reference comes to: name, rows, outcome of a look.
LOOKS: list[tuple[str, list[dict[str, Any]], Any]] = [
    ("ours", [refund()], Done("501", f"RefundReceipt {RECEIPT_NUMBER}")),
    ("ours, with a bookkeeper's words", [refund(PrivateNote=f"checked {STEP} by Jo")],
     Done("501", f"RefundReceipt {RECEIPT_NUMBER}")),
    ("ours beside a void one", [refund(Id="500", TotalAmt=0, PrivateNote="Voided"), refund()],
     Done("501", f"RefundReceipt {RECEIPT_NUMBER}")),
    ("over another amount", [refund(TotalAmt=27.6)],
     Permanent("amount_mismatch",
               f"RefundReceipt {RECEIPT_NUMBER} (501) says 27.60 USD, 25.50 USD was asked for: correct it in QuickBooks by "
               "hand (automated sales tax may have added to it: see the tax code in the settings)")),
    ("in another currency", [refund(CurrencyRef={"value": "EUR"})],
     Permanent("amount_mismatch",
               f"RefundReceipt {RECEIPT_NUMBER} (501) says 25.50 EUR, 25.50 USD was asked for: correct it in QuickBooks by "
               "hand (automated sales tax may have added to it: see the tax code in the settings)")),
    ("void", [refund(TotalAmt=0, PrivateNote="Voided")],
     Permanent("voided", f"RefundReceipt {RECEIPT_NUMBER} (501) was written and is void since: a person undid it")),
    ("void, the note kept", [refund(TotalAmt=0, PrivateNote=f"Voided - {STEP} x")],
     Permanent("voided", f"RefundReceipt {RECEIPT_NUMBER} (501) was written and is void since: a person undid it")),
    ("twice", [refund(), refund(Id="502")],
     Permanent("booked_twice", f"several RefundReceipts are for {STEP}: 501, 502. Delete all but one.")),
    ("somebody else's number", [refund(PrivateNote="by hand")],
     Permanent("number_taken",
               f"RefundReceipt {RECEIPT_NUMBER} (501) exists without our reference {STEP}: compare the two, and add the "
               "reference to its private note if it is this one")),
    ("another step of the case", [refund(PrivateNote=f"{STEP}0 x")],
     Permanent("number_taken",
               f"RefundReceipt {RECEIPT_NUMBER} (501) exists without our reference {STEP}: compare the two, and add the "
               "reference to its private note if it is this one")),
    ("no amount", [refund(TotalAmt=None)],
     Unknown("QuickBooks answered with a RefundReceipt whose fields cannot be read")),
    ("no id", [refund(Id=None)], Unknown("QuickBooks answered with a RefundReceipt whose fields cannot be read")),
    ("no currency", [refund(CurrencyRef=None)],
     Unknown(f"RefundReceipt {RECEIPT_NUMBER}: it does not name its currency; set "
             "REFUNDFLOW_QUICKBOOKS_COMMERCE_HOME_CURRENCY to the company's own")),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "rows", "expected"), LOOKS, ids=[each[0] for each in LOOKS])
def test_a_receipt_is_looked_up_by_its_number(
    _case: str, rows: list[dict[str, Any]], expected: object
) -> None:
    vendor = FakeHttp(listed("RefundReceipt", *rows))

    assert books(vendor).find_record_refund(REFUND) == expected
    assert len(vendor.calls) == 1


@pytest.mark.parametrize(("_case", "rows", "expected"), LOOKS, ids=[each[0] for each in LOOKS])
def test_a_look_before_the_write_keeps_a_second_receipt_away(
    _case: str, rows: list[dict[str, Any]], expected: object
) -> None:
    vendor = FakeHttp(listed("RefundReceipt", *rows))

    outcome = books(vendor).record_refund(REFUND)

    match expected:
        case Done(reference=reference, detail=detail):
            assert outcome == AlreadyDone(reference, detail)
        case _:
            assert outcome == expected
    assert vendor.calls == [f"GET {BASE}/query"]


def test_where_the_company_numbers_itself_the_customers_documents_are_looked_through() -> None:
    others = [refund(Id=str(n), DocNumber=str(n), PrivateNote=f"{STEP}{n}") for n in range(2)]
    vendor = FakeHttp(NONE, listed("RefundReceipt", *others, refund(DocNumber="1077")))

    assert books(vendor).find_record_refund(REFUND) == Done("501", "RefundReceipt 1077")
    assert dict(vendor.requests[1].params)["query"] == (
        "select * from RefundReceipt where CustomerRef = '61' and TxnDate >= '2026-11-18' startposition 1 maxresults 500"
    )


@pytest.mark.parametrize(
    ("_case", "step", "customer", "where"),
    [
        ("no customer", STEP, "", " where TxnDate >= '2026-11-18'"),
        ("a step of another mint", StepKey("old.post_ledger.1"), "61", " where CustomerRef = '61'"),
        ("neither", StepKey("old.post_ledger.1"), "", ""),
    ],
)
def test_a_look_narrows_itself_by_what_it_knows(_case: str, step: StepKey, customer: str, where: str) -> None:
    vendor = FakeHttp(NONE, NONE)
    command = replace(REFUND, step_key=step, invoice=replace(SALE, contact_id=customer))

    assert isinstance(books(vendor).find_record_refund(command), NotFound)
    assert dict(vendor.requests[1].params)["query"] == (
        f"select * from RefundReceipt{where} startposition 1 maxresults 500"
    )


def test_a_receipt_that_is_nowhere_is_believed_absent_only_after_the_vendor_must_have_ended() -> None:
    vendor = FakeHttp(NONE, NONE)

    found = books(vendor).find_record_refund(REFUND)

    assert isinstance(found, NotFound)
    assert (found.conclusive_after_s, found.conclusive_until_s) == (SETTLED_S, None)
    assert SETTLED_S - SPEC.connect_s > 120
    assert len(vendor.calls) == 2


def full_page(start: int) -> Response:
    return listed("RefundReceipt", *({"Id": str(n), "PrivateNote": "x"} for n in range(start, start + 500)))


def test_a_look_goes_on_to_the_next_page() -> None:
    vendor = FakeHttp(NONE, full_page(1), listed("RefundReceipt", refund(DocNumber="1077")))

    assert isinstance(books(vendor).find_record_refund(REFUND), Done)
    assert "startposition 501 maxresults 500" in dict(vendor.requests[2].params)["query"]


def test_a_receipt_on_an_earlier_page_counts_as_well() -> None:
    page = [{"Id": str(n), "PrivateNote": "x"} for n in range(499)]
    vendor = FakeHttp(NONE, listed("RefundReceipt", refund(DocNumber="1077"), *page), NONE)

    assert books(vendor).find_record_refund(REFUND) == Done("501", "RefundReceipt 1077")


def test_a_look_that_does_not_end_proves_nothing() -> None:
    vendor = FakeHttp(NONE, full_page(1), full_page(501), full_page(1001))

    assert isinstance(books(vendor).find_record_refund(REFUND), Unknown)
    assert vendor.is_drained


BOOKED: list[tuple[str, Response, Any]] = [
    ("as asked", one("RefundReceipt", refund()), Done("501", f"RefundReceipt {RECEIPT_NUMBER}")),
    ("numbered by the company", one("RefundReceipt", refund(DocNumber="1077")), Done("501", "RefundReceipt 1077")),
    ("not numbered", one("RefundReceipt", refund(DocNumber=None)), Done("501", "RefundReceipt without a number")),
    ("not ours", one("RefundReceipt", refund(PrivateNote=None)), Unknown),
    ("the answer to another step", one("RefundReceipt", refund(PrivateNote=f"{STEP}7")), Unknown),
    ("another total", one("RefundReceipt", refund(TotalAmt=25.51)), "amount_mismatch"),
    ("another currency", one("RefundReceipt", refund(CurrencyRef={"value": "CAD"})), "amount_mismatch"),
    ("no currency", one("RefundReceipt", refund(CurrencyRef=None)), Unknown),
    ("a text for an amount", one("RefundReceipt", refund(TotalAmt="25.50")), Unknown),
    ("another kind", one("CreditMemo", refund()), Unknown),
    ("a fault beside the document", answer(200, {"RefundReceipt": refund(), "Fault": {"Error": []}}), Unknown),
    ("created, says the status", answer(201, {"RefundReceipt": refund()}), Unknown),
    ("a page", answer(200, "<html>"), Unknown),
    ("broken off", answer(500, "<html>"), Unknown),
    ("away", answer(503, {"Fault": {"Error": [{"code": "6000"}], "type": "ValidationFault"}}), Unknown),
    ("too late", answer(504, ""), Unknown),
    ("moved", answer(302, "", {"Location": "https://login.example"}), Unknown),
    ("a lost path", answer(404, ""), Unknown),
    ("inside trouble as a fault", fault("10000", 400, "SystemFault"), Unknown),
    ("throttled", answer(429, ""), Retryable("throttled", "QuickBooks is asked too often: status 429", 60.0)),
    ("throttled with a hint", answer(429, "", {"Retry-After": "7"}),
     Retryable("throttled", "QuickBooks is asked too often: status 429", 7.0)),
    ("a dead token", fault("3200", 401, "AuthenticationFault"), "unauthorised"),
    ("a dead token with another status", fault("3200", 400, "AuthenticationFault"), "unauthorised"),
    ("another company", fault("3100", 403, "AuthorizationFault"), "unauthorised"),
    ("forbidden at the door", answer(403, "no"), "unauthorised"),
    ("a rule we have not met", fault("9999"), Permanent("9999", "No: Really (intuit_tid 1-abc)")),
    ("a fault without a code", fault(""), Permanent("validation", "No: Really (intuit_tid 1-abc)")),
    ("a fault of a strange kind", fault("9999", 400, "Oops"), Unknown),
    ("a fault without errors", answer(400, {"Fault": {}}), Unknown),
    ("errors that are none", answer(400, {"Fault": {"Error": ["x"], "type": "ValidationFault"}}), Unknown),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "answered", "expected"), BOOKED, ids=[each[0] for each in BOOKED])
def test_what_an_answer_to_a_receipt_comes_to(_case: str, answered: Response, expected: Any) -> None:
    vendor = FakeHttp(NONE, answered)

    outcome = books(vendor).record_refund(REFUND)

    match expected:
        case type():
            assert isinstance(outcome, expected)
        case str():
            assert isinstance(outcome, Permanent | Retryable)
            assert outcome.code == expected
        case _:
            assert outcome == expected
    assert vendor.is_drained


_WORTH = {
    Means.NO: (Permanent, ""),
    Means.LOOK: (Unknown, ""),
    Means.AGAIN: (Retryable, "unavailable"),
    Means.HOUSE: (Retryable, "unauthorised"),
}


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize("code", REFUSALS)
def test_every_known_refusal_means_the_same_with_any_status(code: str, status: int) -> None:
    means, advice = REFUSALS[code]
    kind, word = _WORTH[means]

    outcome = books(FakeHttp(NONE, fault(code, status))).record_refund(REFUND)

    assert type(outcome) is kind
    assert isinstance(outcome, Permanent | Retryable | Unknown)
    assert getattr(outcome, "code", word) == (word or (code if means is Means.NO else ""))
    assert "No: Really (intuit_tid 1-abc)" in outcome.reason
    assert advice in outcome.reason


def test_a_refusal_with_several_errors_tells_them_all() -> None:
    errors = [
        {"Message": "One", "code": "2500"},
        {"Message": "Two", "Detail": "more", "code": "2020"},
        {"Detail": "Three"},
    ]
    refused = answer(400, {"Fault": {"Error": errors, "type": "ValidationFault"}})

    outcome = books(FakeHttp(NONE, refused)).record_refund(REFUND)

    assert isinstance(outcome, Permanent)
    assert outcome.code == "2500"
    assert outcome.reason.startswith("One; Two: more; Three; ")


TROUBLED_LOOKS: list[tuple[str, Response, type]] = [
    ("broken off", answer(500, ""), Retryable),
    ("throttled", answer(429, ""), Retryable),
    ("a dead token", fault("3200", 401), Retryable),
    ("not to be asked like that", fault("4001"), Permanent),
    ("a page", answer(200, "<html>"), Unknown),
    ("no list", answer(200, {"QueryResponse": {"RefundReceipt": {}}}), Unknown),
    ("a list of other things", answer(200, {"QueryResponse": {"RefundReceipt": ["x"]}}), Unknown),
    ("a fault beside an empty list", answer(200, {"QueryResponse": {}, "Fault": {}}), Unknown),
]


@pytest.mark.parametrize(("_case", "answered", "expected"), TROUBLED_LOOKS)
def test_without_a_look_nothing_is_written(_case: str, answered: Response, expected: type) -> None:
    vendor = FakeHttp(answered)

    assert isinstance(books(vendor).record_refund(REFUND), expected)
    assert vendor.calls == [f"GET {BASE}/query"]


@pytest.mark.parametrize("first", [[], [NONE]], ids=["by number", "by customer"])
@pytest.mark.parametrize(("_case", "answered", "_expected"), TROUBLED_LOOKS)
def test_a_look_that_was_not_answered_is_never_a_no(
    _case: str, answered: Response, _expected: type, first: list[Response]
) -> None:
    assert isinstance(books(FakeHttp(*first, answered)).find_record_refund(REFUND), Unknown)


@pytest.mark.parametrize("error", [NotSentError("refused"), MaybeSentError("reset")])
def test_trouble_on_the_wire_passes_through(error: Exception) -> None:
    acts: list[Callable[[QuickBooksCommerce], object]] = [
        lambda b: b.read_invoice("INV-1042"),
        lambda b: b.record_refund(REFUND),
        lambda b: b.find_record_refund(REFUND),
        lambda b: b.credit_note(NOTE),
        lambda b: b.void_invoice(VOID),
        lambda b: b.find_void_invoice(VOID),
        lambda b: b.check(),
    ]
    for act in acts:
        with pytest.raises(type(error)):
            act(books(FakeHttp(error)))  # type: ignore[arg-type] # one of the two above


# --- credit memos -------------------------------------------------------------------------------------------


def test_a_credit_memo_is_over_the_amount_and_names_no_account() -> None:
    vendor = FakeHttp(NONE, one("CreditMemo", memo()))

    assert books(vendor).credit_note(NOTE) == Done("601", f"CreditMemo {MEMO_NUMBER}")
    look, sent = vendor.requests
    assert dict(look.params)["query"] == f"select * from CreditMemo where DocNumber = '{MEMO_NUMBER}'"
    assert (sent.method, sent.path) == ("POST", f"{BASE}/creditmemo")
    assert dict(sent.params) == {"minorversion": "75", "requestid": KEY}
    assert set(sent.json) == {"DocNumber", "TxnDate", "CurrencyRef", "CustomerRef", "PrivateNote", "Line"}
    assert sent.json["PrivateNote"] == f"{STEP} | CN-{CASE}-1 | Order #1042 cancelled | Invoice INV-1042"
    assert [line["Amount"] for line in sent.json["Line"]] == [Decimal("25.50")]


@pytest.mark.parametrize(
    ("_case", "changes", "detail"),
    [
        ("applied", {}, ""),
        ("nothing applied", {"RemainingCredit": 25.5, "LinkedTxn": []},
         "; 25.5 of it is not applied to an invoice yet"),
        ("only the balance is told", {"RemainingCredit": None, "Balance": 10},
         "; 10 of it is not applied to an invoice yet"),
        ("applied to another", {"LinkedTxn": [{"TxnId": "7", "TxnType": "Invoice"}]},
         "; QuickBooks applied it to invoice id 7, it is meant for id 130"),
        ("links that are none", {"LinkedTxn": "x"}, ""),
    ],
)  # fmt: skip
def test_where_a_credit_went_is_told(_case: str, changes: dict[str, Any], detail: str) -> None:
    vendor = FakeHttp(NONE, one("CreditMemo", memo(**changes)))

    assert books(vendor).credit_note(NOTE) == Done("601", f"CreditMemo {MEMO_NUMBER}{detail}")


@pytest.mark.parametrize(
    ("_case", "command", "code"),
    [
        ("for a sales receipt", replace(NOTE, invoice=SALE), "nothing_due"),
        ("that shall move stock", replace(NOTE, restock=True), "restock_unsupported"),
        ("in another currency", replace(NOTE, amount=Money(1, "EUR")), "currency_mismatch"),
        ("over nothing", replace(NOTE, amount=usd(0)), "no_amount"),
    ],
)
def test_a_credit_memo_that_cannot_be_is_not_sent(_case: str, command: CreditNote, code: str) -> None:
    vendor = FakeHttp()

    for outcome in (books(vendor).credit_note(command), books(vendor).find_credit_note(command)):
        assert isinstance(outcome, Permanent)
        assert outcome.code == code
    assert vendor.calls == []


def test_a_credit_memo_is_found_by_number_then_by_reference() -> None:
    by_number = FakeHttp(listed("CreditMemo", memo()))
    by_reference = FakeHttp(NONE, listed("CreditMemo", memo(DocNumber="1078")))

    assert books(by_number).find_credit_note(NOTE) == Done("601", f"CreditMemo {MEMO_NUMBER}")
    assert books(by_reference).find_credit_note(NOTE) == Done("601", "CreditMemo 1078")
    assert books(FakeHttp(NONE, NONE)).find_credit_note(NOTE) == NotFound(
        SETTLED_S, f"no CreditMemo {MEMO_NUMBER} in QuickBooks, nor one with our reference"
    )


# --- voids --------------------------------------------------------------------------------------------------

GONE = {"TotalAmt": 0, "Balance": 0, "PrivateNote": "Voided"}


def test_an_invoice_is_voided_by_its_own_operation() -> None:
    vendor = FakeHttp(one("Invoice", invoice()), one("Invoice", invoice(**GONE)))

    assert books(vendor).void_invoice(VOID) == Done("130", "void: all amounts are 0")
    assert vendor.calls == [f"GET {BASE}/invoice/130", f"POST {BASE}/invoice"]
    assert dict(vendor.requests[1].params) == {
        "minorversion": "75",
        "requestid": f"{KEY}:2",
        "operation": "void",
    }
    assert vendor.requests[1].json == {"Id": "130", "SyncToken": "2"}


def test_a_sales_receipt_is_voided_by_a_sparse_update() -> None:
    vendor = FakeHttp(one("SalesReceipt", receipt()), one("SalesReceipt", receipt(**GONE)))

    assert books(vendor).void_invoice(VOID_SALE) == Done("47", "void: all amounts are 0")
    assert vendor.calls == [f"GET {BASE}/salesreceipt/47", f"POST {BASE}/salesreceipt"]
    assert dict(vendor.requests[1].params) == {
        "minorversion": "75",
        "requestid": f"{KEY}:0",
        "operation": "update",
        "include": "void",
    }
    assert vendor.requests[1].json == {"Id": "47", "SyncToken": "0", "sparse": True}


@pytest.mark.parametrize(
    ("_case", "changes", "expected"),
    [
        ("void already", GONE, AlreadyDone("130", "void: all amounts are 0")),
        ("void already, in another language", {"TotalAmt": 0, "Balance": 0, "PrivateNote": "Annulé"},
         AlreadyDone("130", "void: all amounts are 0")),
        ("partly paid", {"Balance": 42.49}, "has_payments"),
        ("paid", {"Balance": 0}, "has_payments"),
        ("over more than it was", {"TotalAmt": 50, "Balance": 50}, "changed_meanwhile"),
        ("in another currency", {"CurrencyRef": {"value": "EUR"}}, "changed_meanwhile"),
        ("another document", {"Id": "131"}, Unknown),
        ("no lock token", {"SyncToken": None}, Unknown),
        ("no balance", {"Balance": None}, Unknown),
        ("no total", {"TotalAmt": "42.5"}, Unknown),
    ],
)  # fmt: skip
def test_what_is_read_first_decides_and_nothing_is_sent(
    _case: str, changes: dict[str, Any], expected: Any
) -> None:
    vendor = FakeHttp(one("Invoice", invoice(**changes)))

    outcome = books(vendor).void_invoice(VOID)

    match expected:
        case type():
            assert isinstance(outcome, expected)
        case str():
            assert isinstance(outcome, Permanent)
            assert outcome.code == expected
        case _:
            assert outcome == expected
    assert vendor.calls == [f"GET {BASE}/invoice/130"]


@pytest.mark.parametrize(
    ("_case", "answered", "expected"),
    [
        ("gone", fault("610"), Permanent),
        ("away", answer(503, ""), Retryable),
        ("throttled", answer(429, ""), Retryable),
        ("forbidden", answer(401, ""), Retryable),
        ("a page", answer(200, "<html>"), Unknown),
        ("the other kind", one("SalesReceipt", invoice()), Unknown),
    ],
)
def test_a_sale_that_cannot_be_read_first_is_not_voided(
    _case: str, answered: Response, expected: type
) -> None:
    vendor = FakeHttp(answered)

    assert isinstance(books(vendor).void_invoice(VOID), expected)
    assert len(vendor.calls) == 1


@pytest.mark.parametrize(
    ("_case", "answered", "expected"),
    [
        ("not void", one("SalesReceipt", receipt()), Unknown),
        ("another one is void", one("SalesReceipt", receipt(Id="48", **GONE)), Unknown),
        ("in a deposit", fault("6540"), Permanent),
        ("closed", fault("6210", 200), Permanent),
        ("changed in the same moment", fault("5010"), Retryable),
        ("broken off", answer(500, ""), Unknown),
        ("throttled", answer(429, ""), Retryable),
        ("sent before", fault("600"), Unknown),
    ],
)
def test_what_an_answer_to_a_void_comes_to(_case: str, answered: Response, expected: type) -> None:
    vendor = FakeHttp(one("SalesReceipt", receipt()), answered)

    assert isinstance(books(vendor).void_invoice(VOID_SALE), expected)
    assert len(vendor.calls) == 2


@pytest.mark.parametrize(
    ("_case", "looked", "expected"),
    [
        ("void by somebody else in that moment", one("Invoice", invoice(**GONE)), AlreadyDone),
        ("not void", one("Invoice", invoice()), Permanent),
        ("no answer", answer(500, ""), Unknown),
    ],
)
def test_a_rule_that_forbids_a_void_is_looked_behind(_case: str, looked: Response, expected: type) -> None:
    vendor = FakeHttp(one("Invoice", invoice()), fault("6000"), looked)

    assert isinstance(books(vendor).void_invoice(VOID), expected)
    assert vendor.is_drained


@pytest.mark.parametrize(
    ("_case", "answered", "expected"),
    [
        ("void", one("Invoice", invoice(**GONE)), Done("130", "void: all amounts are 0")),
        ("live", one("Invoice", invoice()), NotFound(SETTLED_S, "Invoice INV-1042 is not void")),
        ("paid meanwhile", one("Invoice", invoice(Balance=0)), NotFound(SETTLED_S, "Invoice INV-1042 is not void")),
        ("deleted", fault("610"), Permanent),
        ("away", answer(503, ""), Unknown),
        ("forbidden", answer(403, ""), Unknown),
        ("not to be read", fault("2500"), Unknown),
        ("another one", one("Invoice", invoice(Id="131", **GONE)), Unknown),
        ("no total", one("Invoice", invoice(TotalAmt=None)), Unknown),
        ("a page", answer(200, "<html>"), Unknown),
    ],
)  # fmt: skip
def test_a_void_is_looked_up_on_the_sale_itself(_case: str, answered: Response, expected: Any) -> None:
    found = books(FakeHttp(answered)).find_void_invoice(VOID)

    assert isinstance(found, expected) if isinstance(expected, type) else found == expected


def test_a_sale_over_nothing_is_void_only_where_it_says_so() -> None:
    free = replace(VOID, invoice=replace(FACTS, total=usd(0), due=usd(0)))
    live = one("Invoice", invoice(TotalAmt=0, Balance=0))

    assert isinstance(books(FakeHttp(live)).find_void_invoice(free), NotFound)
    assert isinstance(books(FakeHttp(live, live)).void_invoice(free), Unknown)
    assert isinstance(books(FakeHttp(one("Invoice", invoice(**GONE)))).find_void_invoice(free), Done)


@pytest.mark.parametrize(
    "changes",
    [
        {"document": ""},
        {"document": "Estimate"},
        {"document": "RefundReceipt"},
        {"invoice_id": ""},
        {"invoice_id": "130/../../4/invoice/7"},
        {"invoice_id": "130?x=1"},
        {"invoice_id": "١٣٠"},
        {"invoice_id": "1" * 26},
    ],
)
def test_what_is_no_sale_of_quickbooks_is_never_put_into_an_address(changes: dict[str, str]) -> None:
    vendor = FakeHttp()
    command = replace(VOID, invoice=replace(FACTS, **changes))  # type: ignore[arg-type] # texts all

    for outcome in (books(vendor).void_invoice(command), books(vendor).find_void_invoice(command)):
        assert isinstance(outcome, Permanent)
        assert outcome.code == "unknown_document"
    assert vendor.calls == []


# --- the company --------------------------------------------------------------------------------------------


def preferences(**changes: Any) -> Response:
    told = {
        "SalesFormsPrefs": {"CustomTxnNumbers": True},
        "CurrencyPrefs": {"HomeCurrency": {"value": "USD"}},
        "AccountingInfoPrefs": {},
    }
    return answer(200, {"Preferences": told | changes})


def item(**changes: Any) -> Response:
    return answer(
        200, {"Item": {"Id": "10", "Name": "Returns", "Type": "NonInventory", "Active": True} | changes}
    )


@pytest.mark.parametrize(
    ("_case", "answers", "is_ok", "words"),
    [
        ("well", [preferences(), item()], True, "home currency USD, custom transaction numbers are on"),
        ("a service", [preferences(), item(Type="Service")], True, "home currency USD"),
        ("books closed", [preferences(AccountingInfoPrefs={"BookCloseDate": "2026-10-31"}), item()], True,
         "books are closed up to 2026-10-31"),
        ("numbers off", [preferences(SalesFormsPrefs={"CustomTxnNumbers": False}), item()], True,
         "custom transaction numbers are off"),
        ("nothing told", [answer(200, {"Preferences": {}}), item()], True, "preferences can be read"),
        ("stock is kept", [preferences(), item(Type="Inventory")], False, "inventory item"),
        ("stock is tracked", [preferences(), item(TrackQtyOnHand=True)], False, "inventory item"),
        ("inactive", [preferences(), item(Active=False)], False, "inactive"),
        ("no such item", [preferences(), fault("610")], False, "item 10: "),
        ("another item", [preferences(), item(Id="11")], False, "item 10: "),
        ("forbidden", [fault("3200", 401)], False, "refuses our connection"),
        ("throttled", [answer(429, "")], False, "too often"),
        ("a page", [answer(200, "<html>")], False, "no clear answer"),
    ],
)  # fmt: skip
def test_the_check_tells_what_is_set_and_what_would_go_wrong(
    _case: str, answers: list[Response], is_ok: bool, words: str
) -> None:
    vendor = FakeHttp(*answers)

    health = books(vendor).check()

    assert health == Health(is_ok, health.detail)
    assert words in health.detail
    assert vendor.is_drained


def test_a_home_currency_that_is_not_the_companys_is_told() -> None:
    health = books(FakeHttp(preferences()), replace(COMPANY, home_currency="EUR")).check()

    assert not health.is_ok
    assert "USD" in health.detail
    assert "EUR" in health.detail


CREDENTIALS = Credentials(
    client_id="practice-client",
    client_secret=Secret("practice-secret"),
    refresh_token=Secret("practice-refresh"),
    realm_id=REALM,
    item_id="10",
)


def test_the_wire_is_asked_for_json_tokens_that_are_refreshed_and_calls_below_the_limits() -> None:
    wire = FakeWire()

    connector = build(CREDENTIALS, wire)

    assert connector.company == Company(REALM, "10", "NON", "", "")
    door, api = wire.made
    assert door["base_url"] == "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"
    assert api["base_url"] == "https://quickbooks.api.intuit.com"
    assert api["headers"] == {"Accept": "application/json"}
    assert isinstance(api["tokens"], FixedTokens)
    assert "tokens" not in door
    assert SPEC.burst + SPEC.rate_per_s <= 10
    assert SPEC.burst + SPEC.rate_per_s * 60 <= 500
    (asked,) = wire.token_requests
    assert (asked.method, asked.path) == ("POST", CREDENTIALS.token_url)
    assert asked.auth == ("practice-client", "practice-secret")
    assert list(asked.form or ()) == [
        ("grant_type", "refresh_token"),
        ("refresh_token", "practice-refresh"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"realm_id": ""},
        {"realm_id": "1/2"},
        {"realm_id": "abc"},
        {"item_id": ""},
        {"item_id": "10/.."},
        {"home_currency": "usd"},
    ],
)
def test_settings_that_could_not_be_put_into_an_address_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(CREDENTIALS, **changes)  # type: ignore[arg-type] # texts all


def test_credentials_hide_their_secrets() -> None:
    assert "practice-secret" not in repr(CREDENTIALS)
    assert "practice-refresh" not in repr(CREDENTIALS)


def test_nothing_of_a_customer_is_kept_of_a_document() -> None:
    document = invoice(
        BillAddr={"Line1": "Main Street 1", "City": "Springfield"},
        ShipAddr={"Line1": "Main Street 1", "Country": "Utopia"},
        CustomerMemo={"value": "for Ada Lovelace"},
        CreditCardPayment={"CreditChargeInfo": {"NameOnAcct": "Ada Lovelace", "Number": "xxxx4242"}},
        CheckPayment={"NameOnAcct": "Ada Lovelace"},
        FreeFormAddress="Ada Lovelace, Main Street 1",
        BillEmailCc={"Address": "bob@shop.example"},
    )

    kept = json.dumps(Redaction(SPEC.redact).json({"Invoice": document}))

    for word in ("Lovelace", "Main Street", "Springfield", "Utopia", "ada@", "bob@", "4242"):
        assert word not in kept, word
    assert "INV-1042" in kept
    assert "42.5" in kept


# --- inbound ------------------------------------------------------------------------------------------------


def sign(secret: str, body: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def event(**changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "d1a3aedd-9670-41bf-a4f9-c148a1cc4e03",
        "source": "intuit.practice",
        "type": "qbo.refundreceipt.created.v1",
        "time": "2026-11-25T12:00:00Z",
        "intuitentityid": "501",
        "intuitaccountid": REALM,
        "data": {},
    } | changes


def legacy(company: str = REALM, **changes: str) -> dict[str, Any]:
    entity = {"name": "RefundReceipt", "id": "501", "operation": "Create", "lastUpdated": "2026-11-25"}
    return {"eventNotifications": [{"realmId": company, "dataChangeEvent": {"entities": [entity | changes]}}]}


def delivery(body: Any, signature: str | None = None, secret: str = "verifier") -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({"intuit-signature": sign(secret, raw) if signature is None else signature}, raw)


INBOUND = QuickBooksInbound(Secret("verifier"), REALM)

#: Published by the vendor's own SDKs: verifier token, body, signature.
VECTORS = [
    (
        "b5771f19b12ddb4bcdb9f08bdc50bc63878a",
        '{"eventNotifications":[{"realmId":"1185883450","dataChangeEvent":{"entities":[{"name":"Customer","id":"1",'
        '"operation":"Create","lastUpdated":"2015-10-05T14:42:19-0700"}]}}]}',
        "JC2GUwciPmRBwEO7WvrRmKqu9tGOKL8FFallocTFi8Q=",
    ),
    (
        "00faeec4-08d0-4996-bb37-698ae19f0149",
        '{"eventNotifications":[{"realmId":"1269959970","dataChangeEvent":{"entities":[{"name":"Vendor","id":"40",'
        '"operation":"Update","lastUpdated":"2016-10-05T03:09:04.000Z"},{"name":"Customer","id":"43",'
        '"operation":"Create","lastUpdated":"2016-10-05T03:07:04.000Z"}]}}]}',
        "6q+xGyMirJupwKTh2/WBl2NcdxzxqdIbk3sneKTxLWM=",
    ),
]


@pytest.mark.parametrize(("token", "body", "signature"), VECTORS)
@pytest.mark.parametrize("secrets", ["{}", "new-verifier, {}", "{},new-verifier"])
def test_published_signatures_hold_also_while_the_token_is_changed(
    token: str, body: str, signature: str, secrets: str
) -> None:
    inbound = QuickBooksInbound(Secret(secrets.format(token)))

    verified = inbound.verify(delivery(body.encode(), signature), NOW)

    assert verified == Verified(hashlib.sha256(body.encode()).hexdigest(), "eventNotifications")


_BODY = json.dumps([event()]).encode()
_DIGEST = hmac.new(b"verifier", _BODY, hashlib.sha256)


@pytest.mark.parametrize(
    ("_case", "given"),
    [
        ("no signature", delivery(_BODY, "")),
        ("another token", delivery(_BODY, secret="other")),
        ("hexadecimal", delivery(_BODY, _DIGEST.hexdigest())),
        ("an older digest", delivery(_BODY, base64.b64encode(hmac.new(b"verifier", _BODY, hashlib.sha1).digest()).decode())),
        ("without a key", delivery(_BODY, base64.b64encode(hashlib.sha256(_BODY).digest()).decode())),
        ("over a body written anew", delivery(_BODY, sign("verifier", json.dumps([event()], indent=1).encode()))),
        ("over the body with a line end", delivery(_BODY + b"\n", sign("verifier", _BODY))),
        ("the token decoded first", delivery(_BODY, base64.b64encode(
            hmac.new(base64.b64decode("verifier"), _BODY, hashlib.sha256).digest()).decode())),
        ("two at once", delivery(_BODY, f"{sign('verifier', _BODY)},{sign('verifier', _BODY)}")),
        ("letters that are none", delivery(_BODY, "é\udcff")),
        ("under another name", Delivery({"x-intuit-signature": sign("verifier", _BODY)}, _BODY)),
    ],
)  # fmt: skip
def test_any_other_signature_is_refused(_case: str, given: Delivery) -> None:
    assert isinstance(INBOUND.verify(given, NOW), Refused)


@pytest.mark.parametrize("secret", ["", " , "])
def test_without_a_token_nothing_is_believed(secret: str) -> None:
    given = Delivery({"intuit-signature": base64.b64encode(b"x" * 32).decode()}, _BODY)

    assert QuickBooksInbound(Secret(secret)).verify(given, NOW) == Refused("no webhook secret is set")


def test_an_event_is_known_by_its_own_id() -> None:
    assert INBOUND.verify(delivery([event()]), NOW) == Verified(
        "d1a3aedd-9670-41bf-a4f9-c148a1cc4e03", "qbo.refundreceipt.created.v1"
    )


def test_several_events_are_known_by_all_their_ids_in_any_order() -> None:
    one_way = INBOUND.verify(delivery([event(id="a"), event(id="b")]), NOW)
    other_way = INBOUND.verify(delivery([event(id="b"), event(id="a")]), NOW)
    fewer = INBOUND.verify(delivery([event(id="a"), event(id="c")]), NOW)

    assert isinstance(one_way, Verified)
    assert one_way == other_way
    assert one_way != fewer
    assert one_way.topic == "events"


@pytest.mark.parametrize("body", [[event(id=None)], [event(), "x"], [], legacy(), {"stuff": "5"}, "x", 5])
def test_what_has_no_ids_is_known_by_its_bytes(body: Any) -> None:
    raw = json.dumps(body).encode()

    verified = INBOUND.verify(delivery(raw), NOW)

    assert isinstance(verified, Verified)
    assert verified.source_event_id == hashlib.sha256(raw).hexdigest()
    assert verified.topic


@pytest.mark.parametrize(
    ("_case", "body", "why"),
    [
        ("an event", [event()], "the books' own documents start nothing: qbo.refundreceipt.created.v1 501"),
        ("a void", [event(type="qbo.salesreceipt.voided.v1", intuitentityid="47")],
         "the books' own documents start nothing: qbo.salesreceipt.voided.v1 47"),
        ("something new", [event(type="qbo.dragon.hatched.v9")],
         "the books' own documents start nothing: qbo.dragon.hatched.v9 501"),
        ("two companies at once", [event(intuitaccountid="1"), event(intuitentityid="7")],
         "the books' own documents start nothing: qbo.refundreceipt.created.v1 7"),
        ("another company", [event(intuitaccountid="1")], "it is about another company"),
        ("nothing", [], "it tells of nothing"),
        ("the older form", legacy(), "the books' own documents start nothing: RefundReceipt Create 501"),
        ("the older form, another company", legacy("1"), "it is about another company"),
        ("the older form, nothing", {"eventNotifications": []}, "it tells of nothing"),
    ],
)  # fmt: skip
def test_nothing_in_the_books_starts_a_cancellation(_case: str, body: Any, why: str) -> None:
    given = delivery(body)
    verified = INBOUND.verify(given, NOW)
    assert isinstance(verified, Verified)

    assert INBOUND.read_event(verified.topic, given.body) == Irrelevant(why)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"not json", "$"),
        (b"\xff\xfe", "$"),
        ({"stuff": "5"}, "$"),
        ("x", "$"),
        ([None], "[0].intuitaccountid"),
        ([event(), event(type=5)], "[1].type"),
        ([event(intuitentityid="")], "[0].intuitentityid"),
        ({"eventNotifications": {}}, "eventNotifications"),
        ({"eventNotifications": ["x"]}, "eventNotifications[0].realmId"),
        ({"eventNotifications": [{"realmId": "1"}]}, "eventNotifications[0].dataChangeEvent.entities"),
        (legacy(name=""), "eventNotifications[0].dataChangeEvent.entities[0].name"),
    ],
)
def test_a_delivery_that_cannot_be_read_says_where(body: Any, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        INBOUND.read_event("", delivery(body).body)

    assert caught.value.field == field
