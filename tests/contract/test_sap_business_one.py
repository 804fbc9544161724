"""SAP Business One against its published description: what we send fits it, and so do the answers that we are tested on.

The OpenAPI file describes the same entities in the older envelope; names and enumerations are held against SAP's own metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest

from refundflow.connectors.base import Capability, Health, Polled
from refundflow.connectors.sap_business_one import (
    CREDIT_NOTES,
    DELIVERIES,
    INVOICES,
    ORDERS,
    PAYMENTS,
    RETURNS,
    SPEC,
    Company,
    Credentials,
    SapBusinessOne,
    build,
    document_fields,
    error_of,
    payment_fields,
    read_login,
)
from refundflow.domain.commands import CancelOrder, CreditNote, RecordRefund, Restock, VoidInvoice
from refundflow.domain.facts import (
    InvoiceFacts,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderRef,
)
from refundflow.domain.ids import StepKey
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent
from refundflow.settings import Secret
from refundflow.transport.base import Request
from tests.support.fake_http import FakeHttp, FakeWire, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

KEY = StepKey("RF-00K3ZQ4M7ABCDEF.post_ledger.1")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
#: SAP's metadata is of 2021: these came with later feature packs.
LATER = frozenset({"PaidToDate", "PaidToDateFC"})


@pytest.fixture
def api() -> Path:
    return specs("sap-business-one") / "service-layer.openapi.json"


@lru_cache(maxsize=1)
def metadata(path: Path) -> dict[str, frozenset[str]]:
    """Names of properties by type, and of members by enumeration, as SAP's own metadata has them."""
    found = {}
    for element in ElementTree.parse(path).iter():  # noqa: S314 (a file of ours)
        kind = element.tag.rpartition("}")[2]
        if kind in ("EntityType", "ComplexType", "EnumType"):
            names = (each.get("Name") for each in element)
            found[str(element.get("Name"))] = frozenset(name for name in names if name)
    return found


@pytest.fixture
def official() -> dict[str, frozenset[str]]:
    return metadata(specs("sap-business-one") / "metadata.slice.edmx.xml")


# ------------------------------------------------------------------------------------------------ answers


def line(num: int, sku: str, quantity: float, price: float, **more: Any) -> dict[str, Any]:
    return {
        "LineNum": num,
        "ItemCode": sku,
        "ItemDescription": sku.title(),
        "Quantity": quantity,
        "RemainingOpenQuantity": quantity,
        "Price": price,
        "UnitPrice": price,
        "LineTotal": quantity * price,
        "TaxTotal": 0.0,
        "TaxPercentagePerRow": 0.0,
        "TaxCode": "EX",
        "WarehouseCode": "01",
        "LineStatus": "bost_Open",
        "WithoutInventoryMovement": "tNO",
        **more,
    }


def paper(entry: int, base: tuple[int, int] | None = None, **more: Any) -> dict[str, Any]:
    drawn = {"BaseType": base[0], "BaseEntry": base[1]} if base else {"BaseType": -1}
    return {
        "DocEntry": entry,
        "DocNum": 5000 + entry,
        "DocType": "dDocument_Items",
        "CardCode": "C20000",
        "CardName": "Ada Lovelace",
        "NumAtCard": "1042",
        "DocumentStatus": "bost_Open",
        "Cancelled": "tNO",
        "CancelStatus": "csNo",
        "DocCurrency": "EUR",
        "DocRate": 1.0,
        "DocTotal": 27.5,
        "DocTotalFc": 0.0,
        "PaidToDate": 0.0,
        "PaidToDateFC": 0.0,
        "DiscountPercent": 0.0,
        "ReserveInvoice": "tNO",
        "CreationDate": "2026-11-20T00:00:00Z",
        "DocTime": "09:30:00",
        "UpdateDate": "2026-11-21T00:00:00Z",
        "UpdateTime": "10:15:30",
        "DocumentLines": [
            line(0, "LAMP", 2.0, 10.0, **drawn, **({"BaseLine": 0} if base else {})),
            line(1, "BULB", 3.0, 2.5, **drawn, **({"BaseLine": 1} if base else {})),
        ],
        **more,
    }


GONE = {"Cancelled": "tYES", "CancelStatus": "csYes", "DocumentStatus": "bost_Close"}
ORDER = paper(123)
DELIVERY = paper(77, (17, 123))
INVOICE = paper(88, (17, 123))
PAID = {**INVOICE, "DocumentStatus": "bost_Close", "PaidToDate": 27.5}
MEMO = paper(501, (13, 88), U_RefundflowId=KEY)
RETURN = paper(33, (15, 77), U_RefundflowId=KEY)
PAYMENT = {
    "DocEntry": 9,
    "DocNum": 109,
    "DocType": "rCustomer",
    "CardCode": "C20000",
    "DocCurrency": "EUR",
    "TransferSum": 27.5,
    "TransferAccount": "161020",
    "TransferReference": "re_1",
    "Cancelled": "tNO",
    "CancelStatus": "csNo",
    "AuthorizationStatus": "pasWithout",
    "U_RefundflowId": KEY,
    "PaymentInvoices": [
        {
            "LineNum": 0,
            "DocEntry": 501,
            "InvoiceType": "it_CredItnote",
            "SumApplied": 27.5,
            "InstallmentId": 1,
        }
    ],
}
REFUSAL = {"error": {"code": "-5002", "message": "Document is closed", "details": []}}


def listed(*rows: Any) -> dict[str, Any]:
    return {"@odata.context": "https://sap/b1s/v2/$metadata#Orders", "value": list(rows)}


FACTS = InvoiceFacts(
    platform="sap-business-one",
    invoice_id="88",
    number="1042",
    state=InvoiceState.OPEN,
    contact_id="C20000",
    total=Money(2750, "EUR"),
    due=Money(2750, "EUR"),
    paid=Money(0, "EUR"),
    credited=Money(0, "EUR"),
    lines=(),
)
ITEMS = (ItemQuantity("LAMP", 2), ItemQuantity("BULB", 3))
CANCEL = CancelOrder(step_key=KEY, key="k", order_id="123", reason="customer", restock=True)
BACK = Restock(
    step_key=KEY,
    key="k",
    order_id="123",
    currency="EUR",
    lines=(),
    is_return=True,
    order_number="1042",
    items=ITEMS,
    location="02",
)
VOID = VoidInvoice(step_key=KEY, key="k", invoice=FACTS)
NOTE = CreditNote(
    step_key=KEY,
    key="k",
    invoice=FACTS,
    amount=Money(2750, "EUR"),
    number="CN-1",
    memo="Order 1042 cancelled",
    items=ITEMS,
)
PAY = RecordRefund(
    step_key=KEY,
    key="k",
    amount=Money(2750, "EUR"),
    account_code="161020",
    credit_note_id="501",
    refund_reference="re_1",
)

Call = tuple[str, str, int, Any]
ONE_ORDER = "/Orders({docEntry})"
ONE_INVOICE = "/Invoices({docEntry})"
NO_MEMO: list[Call] = [("GET", "/CreditNotes", 200, listed()), ("GET", "/Drafts", 200, listed())]

#: What is done, the calls that it makes (method, path as described, status, answer), what it comes to.
JOURNEYS: dict[str, tuple[Callable[[SapBusinessOne], object], list[Call], type]] = {
    "check": (lambda s: s.check(), [("GET", "/CreditNotes", 200, listed())], Health),
    "read_order": (
        lambda s: s.read_order(OrderRef("", number="1042")),
        [("GET", "/Orders", 200, listed(ORDER))],
        OrderFacts,
    ),
    "read_order, drawn": (
        lambda s: s.read_order(OrderRef("", order_id="123")),
        [
            (
                "GET",
                ONE_ORDER,
                200,
                {**ORDER, "DocumentLines": [line(0, "LAMP", 2.0, 10.0, RemainingOpenQuantity=0.0)]},
            ),
            ("GET", "/DeliveryNotes", 200, listed(DELIVERY)),
            ("GET", "/Invoices", 200, listed()),
        ],
        OrderFacts,
    ),
    "read_order, not there": (
        lambda s: s.read_order(OrderRef("", order_id="123")),
        [("GET", ONE_ORDER, 404, {"error": {"code": "-2028", "message": "No matching records found"}})],
        NotFound,
    ),
    "quote_lines": (
        lambda s: s.quote_lines(_order(), (LineQuantity("0", 1),)),
        [("GET", ONE_ORDER, 200, ORDER)],
        Money,
    ),
    "cancel_order": (
        lambda s: s.cancel_order(CANCEL),
        [
            ("GET", ONE_ORDER, 200, ORDER),
            ("POST", f"{ONE_ORDER}/Cancel", 204, ""),
            ("GET", ONE_ORDER, 200, {**ORDER, **GONE}),
        ],
        Done,
    ),
    "cancel_order, refused": (
        lambda s: s.cancel_order(CANCEL),
        [
            ("GET", ONE_ORDER, 200, ORDER),
            ("POST", f"{ONE_ORDER}/Cancel", 400, REFUSAL),
            ("GET", ONE_ORDER, 200, ORDER),
        ],
        Permanent,
    ),
    "restock": (
        lambda s: s.restock(BACK),
        [
            ("GET", "/Returns", 200, listed()),
            ("GET", "/Drafts", 200, listed()),
            ("GET", "/DeliveryNotes", 200, listed(DELIVERY)),
            ("POST", "/Returns", 201, RETURN),
        ],
        Done,
    ),
    "find_restock": (lambda s: s.find_restock(BACK), [("GET", "/Returns", 200, listed(RETURN))], Done),
    "read_invoice": (
        lambda s: s.read_invoice("1042"),
        [("GET", "/Invoices", 200, listed(INVOICE)), ("GET", "/CreditNotes", 200, listed(MEMO))],
        InvoiceFacts,
    ),
    "void_invoice": (
        lambda s: s.void_invoice(VOID),
        [
            ("GET", ONE_INVOICE, 200, INVOICE),
            (
                "POST",
                f"{ONE_INVOICE}/CreateCancellationDocument",
                200,
                {**INVOICE, "DocEntry": 90, "CancelStatus": "csCancellation"},
            ),
            ("GET", ONE_INVOICE, 200, {**INVOICE, **GONE}),
        ],
        Done,
    ),
    "credit_note": (
        lambda s: s.credit_note(NOTE),
        [*NO_MEMO, ("GET", ONE_INVOICE, 200, INVOICE), ("POST", "/CreditNotes", 201, MEMO)],
        Done,
    ),
    "credit_note, without base": (
        lambda s: s.credit_note(NOTE),
        [
            *NO_MEMO,
            ("GET", ONE_INVOICE, 200, PAID),
            ("POST", "/CreditNotes", 400, REFUSAL),
            *NO_MEMO,
            ("POST", "/CreditNotes", 201, MEMO),
        ],
        Done,
    ),
    "credit_note, there already": (
        lambda s: s.credit_note(NOTE),
        [("GET", "/CreditNotes", 200, listed(MEMO))],
        AlreadyDone,
    ),
    "record_refund": (
        lambda s: s.record_refund(PAY),
        [
            ("GET", "/VendorPayments", 200, listed()),
            ("GET", "/PaymentDrafts", 200, listed()),
            ("GET", "/CreditNotes({docEntry})", 200, MEMO),
            ("POST", "/VendorPayments", 201, PAYMENT),
        ],
        Done,
    ),
    "poll": (
        lambda s: s.poll("", NOW),
        [("GET", "/Orders", 200, listed({"DocEntry": 123, "NumAtCard": "1042", "UpdateDate": "2026-11-23"}))],
        Polled,
    ),
}


def _order() -> OrderFacts:
    facts = SapBusinessOne(FakeHttp(answer(200, ORDER))).read_order(OrderRef("", order_id="123"))
    assert isinstance(facts, OrderFacts)
    return facts


@pytest.mark.parametrize("name", JOURNEYS)
def test_what_we_send_and_what_we_are_tested_on_is_described(api: Path, name: str) -> None:
    act, calls, kind = JOURNEYS[name]
    http = FakeHttp(*(answer(status, body) for _, _, status, body in calls))
    assert isinstance(act(SapBusinessOne(http, Company(), lambda: NOW)), kind)
    assert http.is_drained
    paths = load(api)["paths"]
    for request, (method, path, status, body) in zip(http.requests, calls, strict=True):
        # The drafts are collections of the same entities, which the slice left out.
        described = {"/Drafts": "/CreditNotes", "/PaymentDrafts": "/VendorPayments"}.get(path, path)
        assert method.lower() in paths[described]
        sent = replace(request, path=request.path.replace(path, described)) if path != described else request
        check_request(api, method, described, sent)
        if status != 204:
            check_response(api, method, described, status, body)


def test_every_declared_call_is_described(api: Path) -> None:
    paths = load(api)["paths"]
    calls = [o.call.split() for c, o in SPEC.operations.items() if c is not Capability.INBOUND]
    assert [c for c in calls if c[0].lower() not in paths.get(c[1], {})] == []


def test_the_login_is_sent_and_read_as_described(api: Path) -> None:
    wire = FakeWire()
    build(
        Credentials(
            base_url="https://sap.shop.example:50000/b1s/v2",
            company_db="SBOACRYL",
            username="refundflow",
            password=Secret("practice-sap-password"),
        ),
        wire,
    )
    check_request(api, "POST", "/Login", wire.token_requests[0])
    told = {"SessionId": "c8dd5d2a", "Version": "1000290", "SessionTimeout": 30}
    check_response(api, "POST", "/Login", 200, told)
    token = read_login(answer(200, told, {"Set-Cookie": "B1SESSION=c8dd5d2a; HttpOnly, ROUTEID=.node1"}))
    assert token is not None
    assert token.value == "B1SESSION=c8dd5d2a; ROUTEID=.node1"


@pytest.mark.parametrize(
    "told",
    [
        {"error": {"code": -5002, "message": {"lang": "en-us", "value": "Document is already cancelled"}}},
        {"error": {"code": "-5002", "message": "Document is already cancelled", "details": []}},
    ],
    ids=["v1", "v2"],
)
def test_both_described_errors_are_read(api: Path, told: dict[str, Any]) -> None:
    check_document(api, told, "/components/schemas/ServiceLayerError")
    refusal = error_of(told)
    assert refusal is not None
    assert (refusal.code, refusal.reason) == ("-5002", "Document is already cancelled")


# ------------------------------------------------------------------------------------------------ SAP's own names


def described_names(api: Path, schema: str) -> set[str]:
    return set(load(api)["components"]["schemas"][schema]["properties"])


def test_every_field_that_is_asked_for_exists(api: Path, official: dict[str, frozenset[str]]) -> None:
    asked = {name for name in document_fields(Company()) if not name.startswith("U_")}
    assert asked <= described_names(api, "Document")
    assert asked - LATER <= official["Document"]
    paid = {name for name in payment_fields(Company()) if not name.startswith("U_")}
    assert paid <= described_names(api, "Payment")
    assert paid - {"CancelStatus"} <= official["Payment"]  # of payments, that came later too


def test_every_field_that_is_filtered_by_exists(official: dict[str, frozenset[str]]) -> None:
    filtered = {"NumAtCard", "CardCode", "DocNum", "Cancelled", "UpdateDate", "DocEntry"}
    assert filtered <= official["Document"]
    assert {"TransferReference", "Cancelled", "DocEntry"} <= official["Payment"]


@pytest.mark.parametrize("name", [name for name, (_, calls, _) in JOURNEYS.items() if len(calls) > 2])
def test_every_name_in_a_body_is_one_of_saps(
    api: Path, official: dict[str, frozenset[str]], name: str
) -> None:
    act, calls, _ = JOURNEYS[name]
    http = FakeHttp(*(answer(status, body) for _, _, status, body in calls))
    act(SapBusinessOne(http, Company(), lambda: NOW))
    for request in [each for each in http.requests if each.json is not None]:
        kinds = ("Payment", "PaymentInvoice") if "Payments" in request.path else ("Document", "DocumentLine")
        rows = request.json.get("PaymentInvoices", request.json.get("DocumentLines"))
        head = {name for name in request.json if not name.startswith("U_")}
        for kind, names in zip(kinds, (head, {name for each in rows for name in each}), strict=True):
            assert names <= described_names(api, kind)
            assert names - LATER <= official[kind]


def test_every_member_of_an_enumeration_is_spelled_as_saps(official: dict[str, frozenset[str]]) -> None:
    assert {"tYES", "tNO"} == official["BoYesNoEnum"]
    assert {"csYes", "csNo", "csCancellation"} == official["CancelStatusEnum"]
    assert {"bost_Open", "bost_Close"} <= official["BoStatus"]
    assert "it_CredItnote" in official["BoRcptInvTypes"]
    assert "rCustomer" in official["BoRcptTypes"]
    assert {"oCreditNotes", "oReturns"} <= official["BoObjectTypes"]


def test_every_described_state_of_an_approval_is_known(official: dict[str, frozenset[str]]) -> None:
    connector_knows = {
        "Without",
        "Pending",
        "Approved",
        "Rejected",
        "Cancelled",
        "Generated",
        "GeneratedbyAuthorizer",
    }
    assert {name[3:] for name in official["DocumentAuthorizationStatusEnum"]} <= connector_knows


def test_every_collection_that_we_name_is_described(api: Path) -> None:
    paths = load(api)["paths"]
    for kind in (ORDERS, DELIVERIES, INVOICES, RETURNS, CREDIT_NOTES, PAYMENTS):
        assert f"/{kind}" in paths


def test_queries_are_as_odata_has_them() -> None:
    http = FakeHttp(answer(200, listed()))
    SapBusinessOne(http).read_order(OrderRef("", number="10 42"))
    request: Request = http.sent
    query = urlsplit(request.path).query
    assert "+" not in query
    assert "%24" not in query
    assert dict(parse_qsl(query))["$filter"] == "(NumAtCard eq '10 42' or NumAtCard eq '#10 42')"
