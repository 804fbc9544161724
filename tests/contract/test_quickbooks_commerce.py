"""QuickBooks Online against its published description: what we send, what we are tested on, signatures, both deliveries.

The description has no paths for a company's preferences and items, which the check reads; nothing here covers them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.quickbooks_commerce import (
    SPEC,
    Company,
    Kind,
    QuickBooksCommerce,
    QuickBooksInbound,
)
from refundflow.domain.commands import CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceLine, InvoiceState, RefundedBy
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, MalformedError, Refused, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent
from refundflow.settings import Secret
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

CASE = mint_case_id(datetime(2026, 11, 20, 9, 0, tzinfo=UTC), 7)
STEP = mint_step_key(CASE, "post_ledger", 1)
KEY = wire_key(STEP, 1)
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
QUERY = "/v3/company/{realmId}/query"


@pytest.fixture
def description() -> Path:
    return specs("quickbooks-commerce") / "quickbooks-online.openapi.json"


@pytest.fixture
def vectors() -> dict[str, Any]:
    loaded: dict[str, Any] = load(specs("quickbooks-commerce") / "webhook_signature_vectors.json")
    return loaded


def usd(minor: int) -> Money:
    return Money(minor, "USD")


FACTS = InvoiceFacts(
    platform="quickbooks-commerce",
    invoice_id="130",
    number="1042",
    state=InvoiceState.OPEN,
    contact_id="61",
    total=usd(2550),
    due=usd(2550),
    paid=usd(0),
    credited=usd(0),
    lines=(InvoiceLine("Clear acrylic sheet", usd(2550), "10", "NON", "1", "", 1),),
    document="Invoice",
    refunded_by=RefundedBy.RECEIPT,
    is_allocated=False,
)
SALE = replace(
    FACTS, invoice_id="47", document="SalesReceipt", state=InvoiceState.PAID, due=usd(0), paid=usd(2550)
)
REFUND = RecordRefund(
    step_key=STEP,
    key=KEY,
    amount=usd(2550),
    account_code="35",
    refund_reference="re_3Abc",
    invoice=SALE,
    number=f"RR-{CASE}-1",
    memo="Order 1042 cancelled",
)
NOTE = CreditNote(
    step_key=STEP,
    key=KEY,
    invoice=FACTS,
    amount=usd(2550),
    number=f"CN-{CASE}-1",
    memo="Order 1042 cancelled",
)
VOID = VoidInvoice(step_key=STEP, key=KEY, invoice=FACTS)
VOID_SALE = VoidInvoice(step_key=STEP, key=KEY, invoice=SALE)


def document(document_id: str, **changes: Any) -> dict[str, Any]:
    """What the four kinds have in common."""
    line = {
        "Id": "1",
        "LineNum": 1,
        "Description": "Clear acrylic sheet",
        "Amount": 25.5,
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {
            "ItemRef": {"value": "10", "name": "Returns"},
            "Qty": 1,
            "UnitPrice": 25.5,
            "TaxCodeRef": {"value": "NON"},
        },
    }
    subtotal = {"Amount": 25.5, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}
    return {
        "domain": "QBO",
        "sparse": False,
        "Id": document_id,
        "SyncToken": "0",
        "DocNumber": "1042",
        "TxnDate": "2026-11-25",
        "CurrencyRef": {"value": "USD", "name": "United States Dollar"},
        "CustomerRef": {"value": "61", "name": "A customer"},
        "LinkedTxn": [],
        "Line": [line, subtotal],
        "TotalAmt": 25.5,
        "Balance": 0,
    } | changes


INVOICE = document("130", Balance=25.5)
RECEIPT = document("47")
GONE = {"TotalAmt": 0, "Balance": 0, "PrivateNote": "Voided"}
BOOKED = document("501", DocNumber=f"RR{CASE[3:]}-1", PrivateNote=f"{STEP} | refund re_3Abc")
CREDITED = document(
    "601",
    DocNumber=f"CN{CASE[3:]}-1",
    PrivateNote=f"{STEP} | Invoice 1042",
    RemainingCredit=0,
    LinkedTxn=[{"TxnId": "130", "TxnType": "Invoice"}],
)


def one(kind: Kind, shown: dict[str, Any]) -> dict[str, Any]:
    return {kind.value: shown, "time": "2026-11-25T04:00:00.000-08:00"}


def found(kind: Kind | None = None, *shown: dict[str, Any]) -> dict[str, Any]:
    rows = {kind.value: list(shown), "startPosition": 1, "maxResults": len(shown)} if kind else {}
    return {"QueryResponse": rows, "time": "2026-11-25T04:00:00.000-08:00"}


def fault(code: str) -> dict[str, Any]:
    error = {"Message": "No", "Detail": "Really", "code": code, "element": ""}
    return {
        "Fault": {"Error": [error], "type": "ValidationFault"},
        "time": "2026-11-25T04:00:00.000-08:00",
    }


def path(kind: Kind, of_one: bool = False) -> str:
    return f"/v3/company/{{realmId}}/{kind.lower()}{'/{id}' if of_one else ''}"


Call = tuple[str, str, int, dict[str, Any]]
#: What is done, the calls it makes (method, path as described, status, answer), what it comes to.
JOURNEYS: dict[str, tuple[Callable[[QuickBooksCommerce], object], list[Call], object]] = {
    "read_invoice, an invoice": (
        lambda b: b.read_invoice("1042"),
        [("GET", QUERY, 200, found(Kind.INVOICE, INVOICE)), ("GET", QUERY, 200, found())],
        FACTS,
    ),
    "read_invoice, a sales receipt": (
        lambda b: b.read_invoice("1042"),
        [("GET", QUERY, 200, found()), ("GET", QUERY, 200, found(Kind.SALES_RECEIPT, RECEIPT))],
        SALE,
    ),
    "void_invoice, an invoice": (
        lambda b: b.void_invoice(VOID),
        [
            ("GET", path(Kind.INVOICE, True), 200, one(Kind.INVOICE, INVOICE)),
            ("POST", path(Kind.INVOICE), 200, one(Kind.INVOICE, INVOICE | GONE)),
        ],
        Done("130", "void: all amounts are 0"),
    ),
    "void_invoice, a sales receipt": (
        lambda b: b.void_invoice(VOID_SALE),
        [
            ("GET", path(Kind.SALES_RECEIPT, True), 200, one(Kind.SALES_RECEIPT, RECEIPT)),
            ("POST", path(Kind.SALES_RECEIPT), 200, one(Kind.SALES_RECEIPT, RECEIPT | GONE)),
        ],
        Done("47", "void: all amounts are 0"),
    ),
    "void_invoice, void meanwhile": (
        lambda b: b.void_invoice(VOID),
        [
            ("GET", path(Kind.INVOICE, True), 200, one(Kind.INVOICE, INVOICE)),
            ("POST", path(Kind.INVOICE), 400, fault("6000")),
            ("GET", path(Kind.INVOICE, True), 200, one(Kind.INVOICE, INVOICE | GONE)),
        ],
        AlreadyDone("130", "void: all amounts are 0"),
    ),
    "find_void_invoice": (
        lambda b: b.find_void_invoice(VOID_SALE),
        [("GET", path(Kind.SALES_RECEIPT, True), 200, one(Kind.SALES_RECEIPT, RECEIPT))],
        NotFound(180.0, "SalesReceipt 1042 is not void"),
    ),
    "record_refund": (
        lambda b: b.record_refund(REFUND),
        [
            ("GET", QUERY, 200, found()),
            ("POST", path(Kind.REFUND_RECEIPT), 200, one(Kind.REFUND_RECEIPT, BOOKED)),
        ],
        Done("501", f"RefundReceipt RR{CASE[3:]}-1"),
    ),
    "record_refund, refused": (
        lambda b: b.record_refund(REFUND),
        [("GET", QUERY, 200, found()), ("POST", path(Kind.REFUND_RECEIPT), 400, fault("9999"))],
        Permanent("9999", "No: Really"),
    ),
    "find_record_refund": (
        lambda b: b.find_record_refund(REFUND),
        [
            ("GET", QUERY, 200, found()),
            ("GET", QUERY, 200, found(Kind.REFUND_RECEIPT, BOOKED | {"DocNumber": "1077"})),
        ],
        Done("501", "RefundReceipt 1077"),
    ),
    "credit_note": (
        lambda b: b.credit_note(NOTE),
        [
            ("GET", QUERY, 200, found()),
            ("POST", path(Kind.CREDIT_MEMO), 200, one(Kind.CREDIT_MEMO, CREDITED)),
        ],
        Done("601", f"CreditMemo CN{CASE[3:]}-1"),
    ),
    "find_credit_note": (
        lambda b: b.find_credit_note(NOTE),
        [("GET", QUERY, 200, found(Kind.CREDIT_MEMO, CREDITED))],
        Done("601", f"CreditMemo CN{CASE[3:]}-1"),
    ),
}


def played(name: str) -> tuple[FakeHttp, list[Call]]:
    act, calls, expected = JOURNEYS[name]
    http = FakeHttp(*[answer(status, body) for _, _, status, body in calls])
    company = Company("4620816365000000000", "10", "NON", "4")
    assert act(QuickBooksCommerce(http, company, lambda: date(2026, 11, 25))) == expected
    assert http.is_drained
    return http, calls


@pytest.mark.parametrize("name", JOURNEYS)
def test_requests_and_canned_answers_are_as_described(name: str, description: Path) -> None:
    http, calls = played(name)

    for (method, template, status, body), request in zip(calls, http.requests, strict=True):
        check_request(description, method, template, request)
        check_response(description, method, template, status, body, declared_only=True)


@pytest.mark.parametrize("name", JOURNEYS)
def test_every_write_carries_a_request_id_of_the_described_length(name: str, description: Path) -> None:
    http, calls = played(name)

    for (method, template, _, _), request in zip(calls, http.requests, strict=True):
        described = {p["name"]: p for p in load(description)["paths"][template][method.lower()]["parameters"]}
        assert ("requestid" in described) is (method == "POST")
        if method == "POST":
            sent = dict(request.params)["requestid"]
            assert 0 < len(sent) <= described["requestid"]["schema"]["maxLength"]


def test_the_base_address_and_the_minor_version_are_the_ones_described(description: Path) -> None:
    described = load(description)
    http, _ = played("record_refund")

    assert SPEC.base_url in [server["url"] for server in described["servers"]]
    example = described["paths"][QUERY]["get"]["parameters"][1]["schema"]["example"]
    assert {dict(request.params)["minorversion"] for request in http.requests} == {str(example)}


def test_our_names_of_documents_are_the_ones_described(description: Path) -> None:
    described = load(description)["components"]["schemas"]["QueryResponse"]["properties"]["QueryResponse"]

    assert {kind.value for kind in Kind} <= described["properties"].keys()


# --- inbound ------------------------------------------------------------------------------------------------


def test_every_published_signature_holds_and_none_holds_for_another_body(vectors: dict[str, Any]) -> None:
    assert len(vectors["vectors"]) == 3
    for vector in vectors["vectors"]:
        inbound = QuickBooksInbound(Secret(vector["verifier_token"]))
        headers = {"intuit-signature": vector["intuit-signature"]}
        body = vector["raw_body"].encode()

        assert isinstance(inbound.verify(Delivery(headers, body), NOW), Verified)
        assert isinstance(inbound.verify(Delivery(headers, body + b" "), NOW), Refused)


def test_published_deliveries_are_read_and_start_nothing(vectors: dict[str, Any], description: Path) -> None:
    inbound = QuickBooksInbound(Secret("verifier"))
    first, second, strange = (vector["raw_body"].encode() for vector in vectors["vectors"])
    events = vectors["cloudevents_sample_raw_body"].encode()

    told = [inbound.read_event("", body) for body in (first, second, events)]

    assert told == [
        Irrelevant("the books' own documents start nothing: Customer Create 1"),
        Irrelevant("the books' own documents start nothing: Vendor Update 40, Customer Create 43"),
        Irrelevant("the books' own documents start nothing: qbo.class.created.v1 1234"),
    ]
    with pytest.raises(MalformedError):
        inbound.read_event("", strange)


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (
            "WebhookBatch",
            [
                {
                    "specversion": "1.0",
                    "id": "evt-1",
                    "source": "intuit.practice",
                    "type": "qbo.refundreceipt.created.v1",
                    "time": "2026-11-25T12:00:00Z",
                    "intuitentityid": "501",
                    "intuitaccountid": "1",
                }
            ],
        ),
        (
            "LegacyWebhook",
            {
                "eventNotifications": [
                    {
                        "realmId": "1",
                        "dataChangeEvent": {
                            "entities": [{"name": "RefundReceipt", "id": "501", "operation": "Create"}]
                        },
                    }
                ]
            },
        ),
    ],
)
def test_the_deliveries_we_are_tested_on_are_as_described(schema: str, body: Any, description: Path) -> None:
    check_document(description, body, f"/components/schemas/{schema}")
