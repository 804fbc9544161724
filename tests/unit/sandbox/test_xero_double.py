"""The practice Xero: its documents' states, its numbers, its idempotency keys, and what it notes in its book."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Answer, Call, Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.xero import CLIENT_ID, CLIENT_SECRET, TENANT_ID, Xero
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LINE = {
    "Description": "Clear acrylic sheet",
    "Quantity": 1,
    "UnitAmount": 25.50,
    "AccountCode": "200",
    "TaxType": "NONE",
}
SCOPES = "accounting.invoices accounting.payments accounting.settings.read accounting.contacts.read"


class Bench:
    """A practice Xero behind its door with a token in hand, and a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Xero], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("xero")
        assert isinstance(vendor, Xero)
        self.xero = vendor
        self.token = self.sign_in().json["access_token"]

    def _receive(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def sign_in(self, secret: str = CLIENT_SECRET, **form: str) -> Result:
        basic = base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
        return self.client.simulate_post(
            "/xero/connect/token",
            body=urlencode({"grant_type": "client_credentials", "scope": SCOPES, **form}),
            headers={"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
        )

    def invoice(self, number: str = "INV-1042", **more: Any) -> Record:
        described = {"InvoiceNumber": number, "Contact": {"Name": "Ada"}, "LineItems": [LINE], **more}
        made: Record = self.world.seed({"xero": {"invoices": [described]}})["xero"]["invoices"][0]
        return made

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Result:
        sent = {
            "Authorization": f"Bearer {self.token}",
            "xero-tenant-id": TENANT_ID,
            "Accept": "application/json",
            **({"Content-Type": "application/json"} if body is not None else {}),
            **({"Idempotency-Key": key} if key is not None else {}),
            **(headers or {}),
        }
        return self.client.simulate_request(
            method,
            f"/xero/api.xro/2.0/{path}",
            query_string=urlencode(query),
            body=json.dumps(body) if body is not None else None,
            headers=sent,
        )

    def note(
        self, invoice: Record, number: str = "CN-1042-1", *, key: str | None = None, **more: Any
    ) -> Result:
        described = {
            "Type": "ACCRECCREDIT",
            "Status": "AUTHORISED",
            "Contact": {"ContactID": invoice["Contact"]["ContactID"]},
            "Date": "2026-11-02",
            "CreditNoteNumber": number,
            "Reference": "rf_01J",
            "CurrencyCode": invoice["CurrencyCode"],
            "LineAmountTypes": "Inclusive",
            "LineItems": [LINE],
            **more,
        }
        return self.call("PUT", "CreditNotes", {"CreditNotes": [described]}, key=key)

    def made_note(self, invoice: Record, number: str = "CN-1042-1", **more: Any) -> Record:
        note: Record = self.note(invoice, number, **more).json["CreditNotes"][0]
        return note

    def refund(self, note: Record, amount: Any = 25.50, *, key: str | None = None, **more: Any) -> Result:
        payment = {
            "CreditNote": {"CreditNoteID": note["CreditNoteID"]},
            "Account": {"Code": "092"},
            "Date": "2026-11-02",
            "Amount": amount,
            "Reference": "re_3Abc",
            **more,
        }
        return self.call("PUT", "Payments", {"Payments": [payment]}, key=key)

    def allocate(self, note: Record, invoice: Record, amount: Any, **more: Any) -> Result:
        allocation = {
            "Invoice": {"InvoiceID": invoice["InvoiceID"]},
            "Amount": amount,
            "Date": "2026-11-02",
            **more,
        }
        return self.call(
            "PUT", f"CreditNotes/{note['CreditNoteID']}/Allocations", {"Allocations": [allocation]}
        )

    def read(self, path: str, **query: Any) -> Record:
        answer: Record = self.call("GET", path, **query).json
        return answer

    def book(self, effect: str | None = None) -> list[Record]:
        return self.xero.book.lines(effect)


def why(result: Result) -> str:
    """The one validation message of a refusal."""
    assert result.status_code == 400
    assert (result.json["ErrorNumber"], result.json["Type"]) == (10, "ValidationException")
    [element] = result.json["Elements"]
    [error] = element["ValidationErrors"]
    return str(error["Message"])


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- at the door


def test_a_token_lives_thirty_minutes(bench: Bench) -> None:
    answer = bench.sign_in().json
    assert (answer["expires_in"], answer["token_type"]) == (1800, "Bearer")

    bench.now += timedelta(seconds=1799)
    assert bench.call("GET", "Organisation").status_code == 200
    bench.now += timedelta(seconds=1)
    expired = bench.call("GET", "Organisation")
    assert (expired.status_code, expired.json["Title"]) == (401, "Unauthorized")
    assert expired.json["Detail"] == "TokenExpired: token expired"


@pytest.mark.parametrize(
    ("_case", "form", "error"),
    [
        ("wrong grant", {"grant_type": "password"}, "unsupported_grant_type"),
        ("unknown scope", {"scope": "accounting.everything"}, "invalid_scope"),
    ],
)
def test_a_wrong_token_request_is_refused(bench: Bench, _case: str, form: dict[str, str], error: str) -> None:
    result = bench.sign_in(**form)

    assert (result.status_code, result.json) == (400, {"error": error})


def test_wrong_client_credentials_are_refused(bench: Bench) -> None:
    assert bench.sign_in(secret="other").json == {"error": "invalid_client"}


def test_a_scope_that_is_missing_is_a_403(bench: Bench) -> None:
    bench.token = bench.sign_in(scope="accounting.invoices.read").json["access_token"]
    invoice = bench.invoice()

    assert bench.call("GET", "Invoices").status_code == 200
    assert bench.call("GET", "Payments").status_code == 403
    assert bench.note(invoice).status_code == 403
    assert bench.book() == []


def test_the_tenant_is_checked_when_sent_and_asked_for_only_by_habit(bench: Bench) -> None:
    other = bench.call(
        "GET", "Organisation", headers={"xero-tenant-id": "00000000-0000-0000-0000-000000000000"}
    )
    assert (other.status_code, other.json["Title"]) == (403, "Forbidden")
    assert bench.call("GET", "Organisation", headers={"xero-tenant-id": ""}).status_code == 200
    bench.world.seed({"xero": {"habits": {"needs_tenant": True}}})
    assert bench.call("GET", "Organisation", headers={"xero-tenant-id": ""}).status_code == 403


def test_connections_name_the_tenant(bench: Bench) -> None:
    answer = bench.client.simulate_get(
        "/xero/connections", headers={"Authorization": f"Bearer {bench.token}"}
    )

    assert [(each["tenantId"], each["tenantType"]) for each in answer.json] == [(TENANT_ID, "ORGANISATION")]


@pytest.mark.parametrize("accept", ["*/*", "text/html", ""])
def test_without_json_in_accept_the_answer_is_xml(bench: Bench, accept: str) -> None:
    bench.invoice()
    result = bench.call("GET", "Invoices", headers={"Accept": accept})

    assert result.headers["content-type"] == "text/xml; charset=utf-8"
    root = ElementTree.fromstring(result.text)  # noqa: S314 (our own practice answer)
    assert [each.text for each in root.iterfind("Invoices/Invoice/InvoiceNumber")] == ["INV-1042"]


def test_an_unknown_document_is_a_404_in_plain_text(bench: Bench) -> None:
    result = bench.call("GET", "Invoices/INV-9")

    assert result.status_code == 404
    assert result.text == "The resource you're looking for cannot be found"


# ---------------------------------------------------------------- reading


def test_a_list_without_page_leaves_lines_out(bench: Bench) -> None:
    bench.invoice("INV-1")
    bench.invoice("INV-2")

    listed = bench.read("Invoices", InvoiceNumbers="INV-2")
    assert [(each["InvoiceNumber"], each["LineItems"]) for each in listed["Invoices"]] == [("INV-2", [])]
    paged = bench.read("Invoices", InvoiceNumbers="INV-2", page=1)
    assert [len(each["LineItems"]) for each in paged["Invoices"]] == [1]
    assert paged["pagination"] == {"page": 1, "pageSize": 100, "pageCount": 1, "itemCount": 1}
    assert len(bench.read("Invoices/INV-2")["Invoices"][0]["LineItems"]) == 1


def test_dates_come_in_both_of_the_vendors_forms(bench: Bench) -> None:
    invoice = bench.invoice(Date="2026-11-02")

    assert (invoice["Date"], invoice["DateString"]) == ("/Date(1793577600000+0000)/", "2026-11-02T00:00:00")
    assert invoice["UpdatedDateUTC"] == "/Date(1795435200000+0000)/"
    assert invoice["UpdatedDateUTCString"] == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("_case", "where", "numbers"),
    [
        ("reference", 'Reference=="rf_1"', ["CN-1"]),
        ("number", 'CreditNoteNumber=="CN-2"', ["CN-2"]),
        ("both", 'Reference=="rf_1" AND CreditNoteNumber=="CN-2"', []),
        ("either", 'Reference=="rf_1" OR CreditNoteNumber=="CN-2"', ["CN-1", "CN-2"]),
        ("amount", "RemainingCredit>0 && Total<=25.50", ["CN-1", "CN-2"]),
        ("nothing left", "RemainingCredit==0", []),
        ("present", "Reference!=null", ["CN-1", "CN-2"]),
        ("an AND inside quotes", 'Reference=="a AND b"', []),
    ],
)
def test_where_filters_credit_notes(bench: Bench, _case: str, where: str, numbers: list[str]) -> None:
    invoice = bench.invoice()
    bench.note(invoice, "CN-1", Reference="rf_1")
    bench.note(invoice, "CN-2", Reference="rf_2")

    found = bench.read("CreditNotes", where=where)["CreditNotes"]
    assert [each["CreditNoteNumber"] for each in found] == numbers


@pytest.mark.parametrize(
    "where", ["Reference", 'Colour=="red"', 'Reference=="a" XOR Status=="b"', 'Reference=="a']
)
def test_a_filter_that_cannot_be_read_is_a_400(bench: Bench, where: str) -> None:
    result = bench.call("GET", "CreditNotes", where=where)

    assert (result.status_code, result.json["Type"]) == (400, "QueryParseException")


def test_payments_are_found_by_their_credit_notes_guid(bench: Bench) -> None:
    invoice = bench.invoice()
    first, second = bench.made_note(invoice, "CN-1"), bench.made_note(invoice, "CN-2")
    bench.refund(first, Reference="re_1")
    bench.refund(second, Reference="re_2")

    where = f'CreditNote.CreditNoteID==guid("{second["CreditNoteID"].upper()}")'
    assert [each["Reference"] for each in bench.read("Payments", where=where)["Payments"]] == ["re_2"]


def test_accounts_and_organisation_can_be_read(bench: Bench) -> None:
    bench.world.seed({"xero": {"organisation": {"PeriodLockDate": "2026-10-31", "BaseCurrency": "EUR"}}})

    assert [each["Code"] for each in bench.read("Accounts", where='Type=="BANK"')["Accounts"]] == ["090"]
    [organisation] = bench.read("Organisation")["Organisations"]
    assert organisation["BaseCurrency"] == "EUR"
    assert organisation["PeriodLockDate"] == "/Date(1793404800000+0000)/"


def test_only_what_changed_since_is_listed(bench: Bench) -> None:
    bench.invoice("INV-1")
    bench.now += timedelta(minutes=20)
    bench.invoice("INV-2")

    since = {"If-Modified-Since": "2026-11-23T12:10:00"}
    listed = bench.call("GET", "Invoices", headers=since).json["Invoices"]
    assert [each["InvoiceNumber"] for each in listed] == ["INV-2"]


# ---------------------------------------------------------------- invoices


def test_an_unpaid_invoice_is_voided_once(bench: Bench) -> None:
    invoice = bench.invoice()
    body = {"InvoiceID": invoice["InvoiceID"], "Status": "VOIDED"}

    first = bench.call("POST", f"Invoices/{invoice['InvoiceID']}", body, key="void-1")
    assert first.json["Invoices"][0]["Status"] == "VOIDED"
    second = bench.call("POST", f"Invoices/{invoice['InvoiceID']}", body, key="void-2")
    assert why(second) == "Invoice not of valid status for modification"
    assert bench.book() == [
        {
            "at": START.isoformat(),
            "vendor": "xero",
            "effect": "void_invoice",
            "id": invoice["InvoiceID"],
            "amount_minor": 2550,
            "currency": "USD",
            "target": {"invoice": "INV-1042"},
            "reference": "",
            "idempotency_key": "void-1",
            "status": "VOIDED",
        }
    ]


@pytest.mark.parametrize(
    ("_case", "seeded", "asked", "allowed"),
    [
        ("draft is deleted", {"Status": "DRAFT"}, "DELETED", True),
        ("submitted is deleted", {"Status": "SUBMITTED"}, "DELETED", True),
        ("draft cannot be voided", {"Status": "DRAFT"}, "VOIDED", False),
        ("authorised cannot be deleted", {}, "DELETED", False),
        ("authorised is voided", {}, "VOIDED", True),
        ("partly paid cannot be voided", {"AmountPaid": "10.00"}, "VOIDED", False),
        ("paid cannot be voided", {"Status": "PAID"}, "VOIDED", False),
        ("voided stays", {"Status": "VOIDED"}, "AUTHORISED", False),
        ("nonsense", {}, "REFUNDED", False),
    ],
)
def test_invoices_change_only_along_their_states(
    bench: Bench, _case: str, seeded: Record, asked: str, allowed: bool
) -> None:
    invoice = bench.invoice(**seeded)
    result = bench.call("POST", f"Invoices/{invoice['InvoiceID']}", {"Status": asked})

    assert result.status_code == (200 if allowed else 400)
    assert len(bench.book()) == (1 if allowed else 0)
    assert bench.read("Invoices/INV-1042")["Invoices"][0]["Status"] == (
        asked if allowed else invoice["Status"]
    )


def test_a_credited_invoice_cannot_be_voided(bench: Bench) -> None:
    invoice = bench.invoice()
    bench.allocate(bench.made_note(invoice), invoice, 5)

    result = bench.call("POST", "Invoices/INV-1042", {"Status": "VOIDED"})
    assert why(result) == "Invoice with payments or credit notes allocated to it cannot be voided"
    assert bench.book("void_invoice") == []


def test_a_paid_invoice_shows_what_was_paid(bench: Bench) -> None:
    invoice = bench.invoice(Status="PAID")

    assert (invoice["Status"], invoice["AmountDue"], invoice["AmountPaid"]) == ("PAID", 0.0, 25.5)
    assert [each["Amount"] for each in invoice["Payments"]] == [25.5]
    assert bench.book() == []


def test_a_locked_period_refuses_void_note_and_payment(bench: Bench) -> None:
    invoice = bench.invoice(Date="2026-10-15")
    note = bench.made_note(invoice)
    bench.world.seed({"xero": {"organisation": {"PeriodLockDate": "2026-11-10"}}})

    void = bench.call("POST", "Invoices/INV-1042", {"Status": "VOIDED"})
    assert why(void) == "The document date 2026-10-15 is not after the lock date 2026-11-10"
    assert (
        why(bench.note(invoice, "CN-2"))
        == "The document date 2026-11-02 is not after the lock date 2026-11-10"
    )
    assert why(bench.refund(note)).endswith("lock date 2026-11-10")
    assert bench.note(invoice, "CN-3", Date="2026-11-11").status_code == 200
    assert [line["effect"] for line in bench.book()] == ["create_credit_note", "create_credit_note"]


def test_history_is_noted_on_an_invoice(bench: Bench) -> None:
    bench.invoice()
    body = {"HistoryRecords": [{"Details": "refundflow rf_01J: order 1042 cancelled"}]}

    assert bench.call("PUT", "Invoices/INV-1042/History", body).status_code == 200
    [record] = bench.read("Invoices/INV-1042/History")["HistoryRecords"]
    assert record["Details"] == "refundflow rf_01J: order 1042 cancelled"
    assert [line["target"] for line in bench.book("note_history")] == [{"invoice": "INV-1042"}]


# ---------------------------------------------------------------- credit notes


def test_a_credit_note_is_created_and_noted_with_its_reference(bench: Bench) -> None:
    note = bench.made_note(bench.invoice(), key="cn-1")

    assert (note["Status"], note["Total"], note["RemainingCredit"]) == ("AUTHORISED", 25.5, 25.5)
    assert note["HasErrors"] is False
    [line] = bench.book()
    assert (line["effect"], line["id"]) == ("create_credit_note", note["CreditNoteID"])
    assert (line["amount_minor"], line["currency"], line["reference"]) == (2550, "USD", "rf_01J")
    assert (line["target"], line["idempotency_key"]) == ({"credit_note": "CN-1042-1"}, "cn-1")


def test_put_refuses_a_number_that_is_taken_and_post_overwrites_it(bench: Bench) -> None:
    invoice = bench.invoice()
    note = bench.made_note(invoice)
    changed = {**LINE, "UnitAmount": 10}

    assert why(bench.note(invoice, LineItems=[changed])) == "Credit note number must be unique"
    assert len(bench.book("create_credit_note")) == 1
    body = {"CreditNotes": [{"CreditNoteNumber": "CN-1042-1", "LineItems": [changed]}]}
    [overwritten] = bench.call("POST", "CreditNotes", body).json["CreditNotes"]
    assert (overwritten["CreditNoteID"], overwritten["Total"]) == (note["CreditNoteID"], 10.0)
    assert [line["amount_minor"] for line in bench.book("update_credit_note")] == [1000]


@pytest.mark.parametrize(
    ("_case", "amounts", "tax_type", "expected"),
    [
        ("tax inside", "Inclusive", "OUTPUT2", (22.17, 3.33, 25.50)),
        ("tax on top", "Exclusive", "OUTPUT2", (25.50, 3.83, 29.33)),
        ("no tax", "NoTax", "OUTPUT2", (25.50, 0.0, 25.50)),
        ("free of tax", "Exclusive", "NONE", (25.50, 0.0, 25.50)),
    ],
)
def test_tax_is_added_contained_or_left_out(
    bench: Bench, _case: str, amounts: str, tax_type: str, expected: tuple[float, float, float]
) -> None:
    line = {**LINE, "TaxType": tax_type}
    note = bench.made_note(bench.invoice(), LineAmountTypes=amounts, LineItems=[line])

    assert (note["SubTotal"], note["TotalTax"], note["Total"]) == expected


@pytest.mark.parametrize(
    ("_case", "changes", "message"),
    [
        ("no type", {"Type": ""}, "Type of a credit note is ACCRECCREDIT or ACCPAYCREDIT"),
        ("born paid", {"Status": "PAID"}, "A credit note cannot be created as PAID"),
        ("unknown contact", {"Contact": {"ContactID": "x"}}, "The contact could not be found"),
        ("no contact", {"Contact": None}, "A contact must be specified"),
        ("no lines", {"LineItems": []}, "One or more line items must be specified"),
        ("unknown account", {"LineItems": [{**LINE, "AccountCode": "999"}]}, "Account code '999' is not a valid code for this document"),
        ("unknown tax", {"LineItems": [{**LINE, "TaxType": "MAGIC"}]}, "TaxType MAGIC is not known"),
        ("discount", {"LineItems": [{**LINE, "DiscountRate": 10}]}, "Credit notes take no discounts on lines"),
        ("no description", {"LineItems": [{**LINE, "Description": ""}]}, "Description of a line item is missing"),
        ("a word for an amount", {"LineItems": [{**LINE, "UnitAmount": "much"}]}, "UnitAmount is a number"),
        ("no date", {"Date": "soon"}, "'soon' is no date"),
        ("no currency", {"CurrencyCode": "usd"}, "usd is no currency of this organisation"),
    ],
)  # fmt: skip
def test_a_wrong_credit_note_is_refused_and_nothing_is_written(
    bench: Bench, _case: str, changes: Record, message: str
) -> None:
    assert why(bench.note(bench.invoice(), **changes)) == message
    assert bench.book() == []
    assert bench.read("CreditNotes")["CreditNotes"] == []


def test_a_note_is_found_by_id_and_by_number_unless_the_habit_says_no(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())

    assert bench.call("GET", f"CreditNotes/{note['CreditNoteID']}").status_code == 200
    assert bench.call("GET", "CreditNotes/CN-1042-1").status_code == 200
    bench.world.seed({"xero": {"habits": {"is_note_found_by_number": False}}})
    assert bench.call("GET", "CreditNotes/CN-1042-1").status_code == 404


def test_a_note_is_voided_only_while_untouched(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())
    payment = bench.refund(note).json["Payments"][0]

    path = f"CreditNotes/{note['CreditNoteID']}"
    refused = bench.call("POST", path, {"Status": "VOIDED"})
    assert why(refused) == "A credit note with payments or allocations cannot be voided"
    undone = bench.call("POST", f"Payments/{payment['PaymentID']}", {"Payments": [{"Status": "DELETED"}]})
    assert undone.json["Payments"][0]["Status"] == "DELETED"
    voided = bench.call("POST", path, {"Status": "VOIDED"}).json["CreditNotes"][0]
    assert (voided["Status"], voided["RemainingCredit"], voided["Payments"]) == ("VOIDED", 0.0, [])
    assert [line["effect"] for line in bench.book()] == [
        "create_credit_note",
        "record_refund",
        "delete_payment",
        "void_credit_note",
    ]


def test_several_notes_in_one_request_are_all_or_nothing_unless_asked_otherwise(bench: Bench) -> None:
    contact = {"ContactID": bench.invoice()["Contact"]["ContactID"]}
    good = {"Type": "ACCRECCREDIT", "Contact": contact, "CreditNoteNumber": "CN-1", "LineItems": [LINE]}
    body = {"CreditNotes": [good, {**good, "CreditNoteNumber": "CN-2", "LineItems": []}]}

    assert bench.call("PUT", "CreditNotes", body).status_code == 400
    assert bench.book() == []
    assert bench.read("CreditNotes")["CreditNotes"] == []
    mixed = bench.call("PUT", "CreditNotes", body, summarizeErrors="false")
    told = [(each["StatusAttributeString"], each["HasErrors"]) for each in mixed.json["CreditNotes"]]
    assert (mixed.status_code, told) == (200, [("OK", False), ("ERROR", True)])
    assert [line["target"] for line in bench.book()] == [{"credit_note": "CN-1"}]


@pytest.mark.parametrize(
    ("_case", "body", "kind"),
    [
        ("no JSON", b"<CreditNotes/>", "PostDataInvalidException"),
        ("a list", b"[]", "PostDataInvalidException"),
        ("nothing in it", b'{"CreditNotes": []}', "NoDataProcessedException"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400(bench: Bench, _case: str, body: bytes, kind: str) -> None:
    result = bench.client.simulate_put(
        "/xero/api.xro/2.0/CreditNotes",
        body=body,
        headers={
            "Authorization": f"Bearer {bench.token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        },
    )

    assert (result.status_code, result.json["Type"]) == (400, kind)


# ---------------------------------------------------------------- allocations


def test_an_allocation_takes_from_both_sides(bench: Bench) -> None:
    invoice = bench.invoice(AmountPaid="10.00")
    note = bench.made_note(invoice)

    result = bench.allocate(note, invoice, 15.50)
    assert [each["Amount"] for each in result.json["Allocations"]] == [15.5]
    settled = bench.read("Invoices/INV-1042")["Invoices"][0]
    assert (settled["Status"], settled["AmountDue"], settled["AmountCredited"]) == ("PAID", 0.0, 15.5)
    left = bench.read("CreditNotes/CN-1042-1")["CreditNotes"][0]
    assert (left["Status"], left["RemainingCredit"]) == ("AUTHORISED", 10.0)
    [line] = bench.book("allocate")
    assert (line["amount_minor"], line["target"]) == (
        1550,
        {"credit_note": "CN-1042-1", "invoice": "INV-1042"},
    )


@pytest.mark.parametrize(
    ("_case", "amount", "message"),
    [
        ("more than due", 15.51, "The amount is more than what is due on the invoice"),
        ("nothing", 0, "Amount must be greater than zero"),
        ("below zero", -1, "Amount must be greater than zero"),
        ("half a cent", 1.005, "Amount: 1.005 has more decimals than USD allows"),
        ("no number", True, "Amount is a number"),
    ],
)
def test_a_wrong_amount_is_not_allocated(bench: Bench, _case: str, amount: Any, message: str) -> None:
    invoice = bench.invoice(AmountPaid="10.00")

    assert why(bench.allocate(bench.made_note(invoice), invoice, amount)) == message
    assert bench.book("allocate") == []


def test_an_allocation_needs_one_contact_one_currency_and_a_date(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())
    stranger = bench.invoice("INV-2", Contact={"Name": "Bob"})
    euros = bench.invoice("INV-3", CurrencyCode="EUR")

    assert why(bench.allocate(note, stranger, 1)) == "Credit note and invoice have different contacts"
    assert why(bench.allocate(note, euros, 1)) == "Credit note and invoice have different currencies"
    body = {"Allocations": [{"Invoice": {"InvoiceID": euros["InvoiceID"]}, "Amount": 1}]}
    undated = bench.call("PUT", f"CreditNotes/{note['CreditNoteID']}/Allocations", body)
    assert why(undated) == "Date of the allocation is missing"
    assert bench.book("allocate") == []


def test_a_paid_invoice_takes_no_allocation(bench: Bench) -> None:
    invoice = bench.invoice(Status="PAID")
    result = bench.allocate(bench.made_note(invoice), invoice, 1)

    assert result.status_code == 400
    assert [each["Message"] for each in result.json["Elements"][0]["ValidationErrors"]] == [
        "An invoice that is PAID takes no allocation",
        "The amount is more than what is due on the invoice",
    ]
    assert bench.book("allocate") == []


def test_an_allocation_can_be_taken_back(bench: Bench) -> None:
    invoice = bench.invoice()
    note = bench.made_note(invoice)
    [made] = bench.allocate(note, invoice, 25.50).json["Allocations"]
    assert bench.read("CreditNotes/CN-1042-1")["CreditNotes"][0]["Status"] == "PAID"

    path = f"CreditNotes/{note['CreditNoteID']}/Allocations/{made['AllocationID']}"
    assert bench.call("DELETE", path).json["IsDeleted"] is True
    assert bench.call("DELETE", path).status_code == 404
    assert bench.read("CreditNotes/CN-1042-1")["CreditNotes"][0]["RemainingCredit"] == 25.5
    assert len(bench.book("delete_allocation")) == 1


# ---------------------------------------------------------------- payments


def test_a_refund_on_a_note_uses_its_credit_up(bench: Bench) -> None:
    note = bench.made_note(bench.invoice(Status="PAID"))

    [payment] = bench.refund(note, key="pay-1").json["Payments"]
    assert (payment["PaymentType"], payment["Amount"], payment["Status"]) == (
        "ARCREDITPAYMENT",
        25.5,
        "AUTHORISED",
    )
    settled = bench.read("CreditNotes/CN-1042-1")["CreditNotes"][0]
    assert (settled["Status"], settled["RemainingCredit"]) == ("PAID", 0.0)
    assert [each["Reference"] for each in settled["Payments"]] == ["re_3Abc"]
    [line] = bench.book("record_refund")
    assert (line["amount_minor"], line["currency"], line["reference"]) == (2550, "USD", "re_3Abc")
    assert (line["target"], line["idempotency_key"]) == (
        {"credit_note": "CN-1042-1", "account": "092"},
        "pay-1",
    )


def test_a_second_full_refund_is_refused_and_a_second_partial_one_is_not(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())

    assert bench.refund(note, 10).status_code == 200
    assert bench.refund(note, 10).status_code == 200
    assert why(bench.refund(note, 10)) == "Payment amount exceeds the amount outstanding on this document"
    assert [line["amount_minor"] for line in bench.book("record_refund")] == [1000, 1000]


@pytest.mark.parametrize(
    ("_case", "changes", "message"),
    [
        ("unknown account", {"Account": {"Code": "999"}}, "Account could not be found"),
        ("sales account", {"Account": {"Code": "200"}}, "Account must be a bank account or have payments to it enabled"),
        ("archived account", {"Account": {"Code": "095"}}, "Account is archived"),
        ("account in pounds", {"Account": {"Code": "096"}}, "Account is in a currency that cannot pay this document"),
        ("no account", {"Account": {}}, "Account of the payment is missing"),
        ("unknown note", {"CreditNote": {"CreditNoteID": "x"}}, "CreditNote could not be found"),
        ("two documents", {"Invoice": {"InvoiceNumber": "INV-1042"}}, "A payment names either an Invoice or a CreditNote"),
        ("a cent too much", {"Amount": 25.51}, "Payment amount exceeds the amount outstanding on this document"),
    ],
)  # fmt: skip
def test_a_wrong_payment_is_refused(bench: Bench, _case: str, changes: Record, message: str) -> None:
    bench.world.seed(
        {
            "xero": {
                "accounts": [
                    {"Code": "095", "Name": "Old bank", "Type": "BANK", "Status": "ARCHIVED"},
                    {"Code": "096", "Name": "London bank", "Type": "BANK", "CurrencyCode": "GBP"},
                ]
            }
        }
    )
    note = bench.made_note(bench.invoice())

    assert (
        why(bench.refund(note, **changes) if "Amount" not in changes else bench.refund(note, 25.51))
        == message
    )
    assert bench.book("record_refund") == []


def test_a_draft_note_takes_no_payment(bench: Bench) -> None:
    note = bench.made_note(bench.invoice(), Status="DRAFT")

    assert why(bench.refund(note)) == "A document that is DRAFT takes no payment"


def test_a_customers_payment_on_an_invoice_is_another_line_in_the_book(bench: Bench) -> None:
    bench.invoice()
    payment = {"Invoice": {"InvoiceNumber": "INV-1042"}, "Account": {"Code": "090"}, "Amount": "25.50"}

    [made] = bench.call("PUT", "Payments", payment).json["Payments"]
    assert made["PaymentType"] == "ACCRECPAYMENT"
    assert bench.read(f"Payments/{made['PaymentID']}")["Payments"][0]["Invoice"]["AmountDue"] == 0.0
    assert [line["amount_minor"] for line in bench.book("record_payment")] == [2550]
    assert bench.book("record_refund") == []


# ---------------------------------------------------------------- idempotency and faults


def test_a_key_replays_its_answer_for_six_minutes_and_acts_once(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())

    first = bench.refund(note, 5, key="pay-1")
    bench.now += timedelta(seconds=359)
    assert bench.refund(note, 5, key="pay-1").json == first.json
    assert len(bench.book("record_refund")) == 1
    bench.now += timedelta(seconds=1)
    assert bench.refund(note, 5, key="pay-1").status_code == 200
    assert len(bench.book("record_refund")) == 2


def test_a_key_used_for_another_request_is_refused(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())
    bench.refund(note, 5, key="pay-1")

    other = bench.refund(note, 6, key="pay-1")
    assert (other.status_code, other.json["Message"]) == (
        400,
        "Idempotency-Key was used for another request already",
    )
    assert bench.refund(note, 5, key="x" * 129).status_code == 400
    assert [line["amount_minor"] for line in bench.book("record_refund")] == [500]


def test_a_refused_request_does_not_use_its_key_up(bench: Bench) -> None:
    invoice = bench.invoice()
    bench.world.faults.add(Fault(Kind.REFUSE, "xero", "create_credit_note", code="Not today"))

    assert why(bench.note(invoice, key="cn-1")) == "Not today"
    assert bench.note(invoice, key="cn-1").status_code == 200
    assert len(bench.book()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.LOST_REPLY, "xero", "create_payment"),
        Fault(Kind.STATUS, "xero", "create_payment", status=503, is_after_effect=True),
        Fault(Kind.HTML, "xero", "create_payment", status=502, is_after_effect=True),
    ],
    ids=["reply lost", "503 after the act", "page after the act"],
)
def test_after_a_lost_answer_the_same_key_gives_it_and_acts_no_more(bench: Bench, fault: Fault) -> None:
    note = bench.made_note(bench.invoice())
    # A fault counts itself down, so each test takes its own.
    bench.world.faults.add(Fault(fault.kind, fault.vendor, fault.operation, status=fault.status, is_after_effect=fault.is_after_effect))  # fmt: skip

    if fault.kind is Kind.LOST_REPLY:
        with pytest.raises(ConnectionCutError):
            bench.refund(note, key="pay-1")
    else:
        assert bench.refund(note, key="pay-1").status_code == fault.status
    assert bench.refund(note, key="pay-1").json["Payments"][0]["Amount"] == 25.5
    assert len(bench.book("record_refund")) == 1


@pytest.mark.parametrize("is_after_effect", [False, True])
def test_a_replayed_call_can_meet_a_fault_too_and_acts_no_more(bench: Bench, is_after_effect: bool) -> None:
    note = bench.made_note(bench.invoice())
    first = bench.refund(note, 5, key="pay-1")
    bench.world.faults.add(Fault(Kind.STATUS, "xero", status=503, is_after_effect=is_after_effect))

    assert bench.refund(note, 5, key="pay-1").status_code == 503
    assert bench.refund(note, 5, key="pay-1").json == first.json
    assert len(bench.book("record_refund")) == 1


def test_a_lost_request_leaves_nothing_behind(bench: Bench) -> None:
    note = bench.made_note(bench.invoice())
    bench.world.faults.add(Fault(Kind.LOST_REQUEST, "xero", "create_payment"))

    with pytest.raises(ConnectionCutError):
        bench.refund(note, key="pay-1")
    assert bench.book("record_refund") == []


def test_the_minute_limit_says_which_and_how_long(bench: Bench) -> None:
    invoice = bench.invoice()
    bench.world.faults.add(Fault(Kind.STATUS, "xero", status=429))

    result = bench.note(invoice)
    assert (result.status_code, result.headers["retry-after"]) == (429, "60")
    assert (result.headers["x-rate-limit-problem"], result.headers["x-minlimit-remaining"]) == ("minute", "0")
    assert result.content == b""
    assert bench.book() == []
    assert bench.note(invoice).headers["x-minlimit-remaining"] == "59"


def test_a_second_request_with_a_key_at_work_is_turned_away(bench: Bench) -> None:
    call = Call("PUT", "/api.xro/2.0/Payments", headers={"idempotency-key": "pay-1"}, body=b"{}")

    assert bench.xero.begin(call) is None
    second = bench.xero.begin(call)
    assert second is not None
    assert second.status == 409
    bench.xero.finish(call, Answer(503))
    assert bench.xero.begin(call) is None


# ---------------------------------------------------------------- controls and webhooks


def test_a_person_can_void_or_pay_in_xero_and_it_is_told_signed(bench: Bench) -> None:
    bench.world.webhooks.subscribe("xero", Subscription("http://rf.example/hooks/xero", "practice-key"))
    invoice = bench.invoice()
    bench.world.settle("xero", {"invoice": "INV-1042", "status": "VOIDED"})
    bench.world.webhooks.wait_idle()
    bench.world.close()

    [(_, headers, body)] = bench.posted
    digest = hmac.new(b"practice-key", body, hashlib.sha256).digest()
    assert headers["x-xero-signature"] == base64.b64encode(digest).decode()
    told = json.loads(body)
    [event] = told["events"]
    assert (event["eventCategory"], event["eventType"]) == ("INVOICE", "UPDATE")
    assert (event["resourceId"], event["tenantId"]) == (invoice["InvoiceID"], TENANT_ID)
    assert bench.book() == []
    check_document(specs("xero") / "webhooks.openapi.json", told, "/components/schemas/WebhookEvent")


def test_a_credit_note_event_carries_its_status_and_stays_the_same_when_asked_again(bench: Bench) -> None:
    bench.made_note(bench.invoice())

    event = bench.xero.event_for("CREDITNOTE.CREATE", "CN-1042-1")
    assert event.body["events"][0]["data"] == {"Type": "ACCRECCREDIT", "Status": "AUTHORISED"}
    assert bench.xero.event_for("CREDITNOTE.CREATE", "CN-1042-1").id == event.id
    with pytest.raises(NoSuchObjectError):
        bench.xero.event_for("PAYMENT.CREATE", "CN-1042-1")
    schema = "/components/schemas/CreditNoteWebhookEvent"
    check_document(specs("xero") / "webhooks.openapi.json", event.body, schema)


def test_settling_follows_the_states_too(bench: Bench) -> None:
    bench.invoice()
    bench.world.settle("xero", {"invoice": "INV-1042", "status": "PAID"})

    assert bench.read("Invoices/INV-1042")["Invoices"][0]["Status"] == "PAID"
    with pytest.raises(ValueError, match="not of valid status"):
        bench.world.settle("xero", {"invoice": "INV-1042", "status": "VOIDED"})
    with pytest.raises(NoSuchObjectError):
        bench.world.settle("xero", {"invoice": "INV-9", "status": "VOIDED"})
    bench.world.settle("xero", {"token": "expired"})
    assert bench.call("GET", "Organisation").status_code == 401


@pytest.mark.parametrize(
    ("_case", "invoice", "message"),
    [
        ("no number", {"Contact": {"Name": "Ada"}, "LineItems": [LINE]}, "InvoiceNumber"),
        ("no lines", {"InvoiceNumber": "INV-1", "Contact": {"Name": "Ada"}}, "line items"),
        ("paid in part", {"InvoiceNumber": "INV-1", "Contact": {"Name": "Ada"}, "LineItems": [LINE], "Status": "PAID", "AmountPaid": "1.00"}, "not paid in full"),
    ],
)  # fmt: skip
def test_a_seed_that_cannot_be_read_says_what_is_wrong(
    bench: Bench, _case: str, invoice: Record, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bench.world.seed({"xero": {"invoices": [invoice]}})


def test_answers_fit_the_published_description(bench: Bench) -> None:
    spec = specs("xero") / "accounting.openapi.json"
    invoice = bench.invoice(AmountPaid="10.00")
    created = bench.note(invoice)
    note = created.json["CreditNotes"][0]
    one, of_note = "/CreditNotes/{CreditNoteID}", f"CreditNotes/{note['CreditNoteID']}"

    check_response(spec, "PUT", "/CreditNotes", 200, created.json)
    check_response(spec, "PUT", "/CreditNotes", 400, bench.note(invoice).json)
    allocated = bench.allocate(note, invoice, 15.50)
    check_response(spec, "PUT", f"{one}/Allocations", 200, allocated.json)
    check_response(spec, "PUT", f"{one}/Allocations", 400, bench.allocate(note, invoice, 1).json)
    paid = bench.refund(note, 10)
    check_response(spec, "PUT", "/Payments", 200, paid.json)
    check_response(spec, "PUT", "/Payments", 400, bench.refund(note, 1).json)
    check_response(spec, "GET", "/CreditNotes", 200, bench.read("CreditNotes", page=1))
    check_response(spec, "GET", one, 200, bench.read(of_note))
    check_response(spec, "GET", "/Invoices", 200, bench.read("Invoices", page=1))
    check_response(spec, "GET", "/Invoices/{InvoiceID}", 200, bench.read("Invoices/INV-1042"))
    check_response(spec, "GET", "/Payments", 200, bench.read("Payments", page=1))
    payment = f"Payments/{paid.json['Payments'][0]['PaymentID']}"
    check_response(spec, "GET", "/Payments/{PaymentID}", 200, bench.read(payment))
    undone = bench.call("POST", payment, {"Status": "DELETED"})
    check_response(spec, "POST", "/Payments/{PaymentID}", 200, undone.json)
    check_response(spec, "GET", "/Accounts", 200, bench.read("Accounts"))
    check_response(spec, "GET", "/Organisation", 200, bench.read("Organisation"))
    history = {"HistoryRecords": [{"Details": "cancelled"}]}
    noted = bench.call("PUT", "Invoices/INV-1042/History", history)
    check_response(spec, "PUT", "/Invoices/{InvoiceID}/History", 200, noted.json)
    check_response(spec, "GET", "/Invoices/{InvoiceID}/History", 200, bench.read("Invoices/INV-1042/History"))
    bench.invoice("INV-2")
    voided = bench.call("POST", "Invoices/INV-2", {"Status": "VOIDED"})
    check_response(spec, "POST", "/Invoices/{InvoiceID}", 200, voided.json)


def test_connections_fit_the_published_description(bench: Bench) -> None:
    answer = bench.client.simulate_get(
        "/xero/connections", headers={"Authorization": f"Bearer {bench.token}"}
    )

    check_response(specs("xero") / "identity.openapi.json", "GET", "/Connections", 200, answer.json)
