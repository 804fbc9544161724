"""Zoho Inventory: what each answer is taken for, what is looked at before anything is written, and what is never sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.connectors.base import Capability
from refundflow.connectors.zoho_inventory import (
    DATA_CENTRES,
    HINTS,
    SPEC,
    Credentials,
    ZohoInbound,
    ZohoInventory,
    build,
    is_id,
    is_parent,
    money_of,
    read_body,
    read_order,
    return_number,
    spread,
    token_request,
    units_of,
)
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
from refundflow.domain.ids import StepKey, mint_step_key, wire_key
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request, Response
from refundflow.transport.redact import Redaction
from tests.support.fake_http import FakeHttp, FakeWire, answer

CASE = "RF-00K3ZQ4M7ABCDEF"
ORGANIZATION = "60012345678"
ORDER_ID = "4600000000000000011"
LINE_ID = "4600000000000000021"
ITEM_ID = "4600000000000000031"
INVOICE_ID = "4600000000000000041"
INVOICE_LINE_ID = "4600000000000000051"
CUSTOMER_ID = "4600000000000000061"
NOTE_ID = "4600000000000000071"
RETURN_ID = "4600000000000000081"
REFUND_ID = "4600000000000000091"
ACCOUNT_ID = "4600000000000000358"
TODAY = date(2026, 11, 25)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)

LOOK = "GET"


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def keys(kind: str, number: int = 1) -> dict[str, Any]:
    step_key = StepKey(f"{CASE}.{kind}.{number}")
    return {"step_key": step_key, "key": wire_key(step_key, 1)}


def ok(**shown: Any) -> Response:
    return answer(200, {"code": 0, "message": "success", **shown})


def no(status: int = 400, code: int = 36101, message: str = "It cannot be done.") -> Response:
    return answer(status, {"code": code, "message": message})


def page(name: str, *rows: Any, has_more: bool = False) -> Response:
    return ok(**{name: list(rows), "page_context": {"page": 1, "per_page": 200, "has_more_page": has_more}})


def line(**changes: Any) -> dict[str, Any]:
    return {
        "line_item_id": LINE_ID,
        "item_id": ITEM_ID,
        "sku": "SHEET",
        "name": "Acrylic sheet",
        "quantity": 2.0,
        "quantity_packed": 0,
        "quantity_shipped": 0,
        "quantity_invoiced": 0,
        "rate": 25.5,
        "item_total": 51,
        **changes,
    }


def order(**changes: Any) -> dict[str, Any]:
    return {
        "salesorder_id": ORDER_ID,
        "salesorder_number": "SO-1042",
        "reference_number": "#1042",
        "status": "confirmed",
        "customer_id": CUSTOMER_ID,
        "customer_name": "Ada Practice",
        "contact_persons_associated": [{"contact_person_email": "ada@customers.example"}],
        "currency_code": "EUR",
        "line_items": [line()],
        "total": 51,
        "packages": [],
        "invoices": [],
        "salesreturns": [],
        "created_time": "2026-11-20T10:00:00+0100",
        "last_modified_time": "2026-11-21T10:00:00+0100",
        **changes,
    }


def held(**changes: Any) -> Response:
    return ok(salesorder=order(**changes))


def in_order(**changes: Any) -> dict[str, Any]:
    """The invoice as its sales order shows it."""
    return {
        "invoice_id": INVOICE_ID,
        "invoice_number": "INV-1042",
        "status": "paid",
        "total": 51,
        "balance": 0,
        **changes,
    }


def sold(**changes: Any) -> Response:
    """The sales order of a paid invoice."""
    return held(line_items=[line(quantity_invoiced=2)], invoices=[in_order()], **changes)


def invoice(**changes: Any) -> dict[str, Any]:
    return {
        "invoice_id": INVOICE_ID,
        "invoice_number": "INV-1042",
        "reference_number": "SO-1042",
        "status": "paid",
        "customer_id": CUSTOMER_ID,
        "currency_code": "EUR",
        "line_items": [
            {
                "line_item_id": INVOICE_LINE_ID,
                "item_id": ITEM_ID,
                "salesorder_item_id": LINE_ID,
                "sku": "SHEET",
                "name": "Acrylic sheet",
                "quantity": 2,
                "rate": 25.5,
                "item_total": 51,
            }
        ],
        "total": "51.00",
        "balance": "0.00",
        **changes,
    }


def billed(**changes: Any) -> Response:
    return ok(invoice=invoice(**changes))


def note(**changes: Any) -> dict[str, Any]:
    return {
        "creditnote_id": NOTE_ID,
        "creditnote_number": f"CN-{CASE}-1",
        "reference_number": f"{CASE}.post_ledger.1",
        "status": "open",
        "currency_code": "EUR",
        "total": 51,
        "balance": 51,
        **changes,
    }


def refund(**changes: Any) -> dict[str, Any]:
    return {
        "creditnote_refund_id": REFUND_ID,
        "reference_number": f"{CASE}.post_ledger.2",
        "amount": 51.0,
        "description": f"refundflow {CASE}.post_ledger.2 re_3Abc",
        **changes,
    }


def returned(**changes: Any) -> dict[str, Any]:
    return {
        "salesreturn_id": RETURN_ID,
        "salesreturn_number": f"RMA-{CASE}-1",
        "salesorder_id": ORDER_ID,
        "reason": f"refundflow {CASE}.restock.1",
        "salesreturn_status": "approved",
        "receive_status": "",
        "line_items": [{"line_item_id": "4600000000000000101", "item_id": ITEM_ID, "quantity": 2}],
        "salesreturnreceives": [],
        **changes,
    }


def receive(**changes: Any) -> dict[str, Any]:
    return {
        "receive_id": "4600000000000000111",
        "notes": f"refundflow {CASE}.restock.1",
        "line_items": [{"line_item_id": "4600000000000000101", "quantity": 2}],
        **changes,
    }


FACTS = InvoiceFacts(
    platform="zoho-inventory",
    invoice_id=INVOICE_ID,
    number="INV-1042",
    state=InvoiceState.PAID,
    contact_id=CUSTOMER_ID,
    total=eur(5100),
    due=eur(0),
    paid=eur(5100),
    credited=eur(0),
    lines=(),
    is_allocated=False,
)
CANCEL = CancelOrder(**keys("cancel_order"), order_id=ORDER_ID, reason="customer", restock=True)
RESTOCK = Restock(
    **keys("restock"),
    order_id=ORDER_ID,
    currency="EUR",
    lines=(LineQuantity("501", 2),),
    items=(ItemQuantity("SHEET", 2),),
    is_return=True,
)
VOID = VoidInvoice(**keys("post_ledger"), invoice=FACTS)
NOTE = CreditNote(
    **keys("post_ledger"),
    invoice=FACTS,
    amount=eur(5100),
    number=f"CN-{CASE}-1",
    memo="Order #1042 cancelled",
)
REFUND = RecordRefund(
    **keys("post_ledger", 2),
    amount=eur(5100),
    account_code=ACCOUNT_ID,
    credit_note_id=NOTE_ID,
    refund_reference="re_3Abc",
)


def zoho(*answers: Any, always: Any = None) -> tuple[ZohoInventory, FakeHttp]:
    http = FakeHttp(*answers, always=always)
    return ZohoInventory(http, ORGANIZATION, lambda: TODAY), http


def writes(http: FakeHttp) -> list[Request]:
    return [request for request in http.requests if request.method != LOOK]


# ---------------------------------------------------------------- set-up


def credentials(**changes: Any) -> Credentials:
    return Credentials(
        **{
            "client_id": "1000.CLIENT",
            "client_secret": Secret("the-client-secret"),
            "refresh_token": Secret("1000.the-refresh-token"),
            "organization_id": ORGANIZATION,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("data_centre", "accounts", "api"),
    [
        ("com", "https://accounts.zoho.com", "https://www.zohoapis.com/inventory/v1"),
        ("eu", "https://accounts.zoho.eu", "https://www.zohoapis.eu/inventory/v1"),
        ("com.au", "https://accounts.zoho.com.au", "https://www.zohoapis.com.au/inventory/v1"),
        ("ca", "https://accounts.zohocloud.ca", "https://www.zohoapis.ca/inventory/v1"),
    ],
)
def test_both_addresses_follow_from_the_data_centre(data_centre: str, accounts: str, api: str) -> None:
    wire = FakeWire()
    build(credentials(data_centre=data_centre), wire)
    assert [made["base_url"] for made in wire.made] == [accounts, api]
    assert DATA_CENTRES["com"][1] == SPEC.base_url


def test_both_addresses_can_be_set() -> None:
    wire = FakeWire()
    build(credentials(base_url="https://a.example/x", accounts_url="https://b.example"), wire)
    assert [made["base_url"] for made in wire.made] == ["https://b.example", "https://a.example/x"]


@pytest.mark.parametrize("changes", [{"data_centre": "de"}, {"organization_id": "me"}])
def test_settings_that_cannot_be_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        credentials(**changes)


def test_the_token_is_asked_for_as_a_form_and_sent_in_zohos_own_words() -> None:
    wire = FakeWire()
    build(credentials(), wire)
    assert wire.made[1]["token_format"] == "Zoho-oauthtoken {}"
    assert wire.made[1]["tokens"] is not None
    assert wire.token_requests == [token_request(credentials(), "1000.the-refresh-token")]
    assert dict(wire.token_requests[0].form or ()) == {
        "grant_type": "refresh_token",
        "refresh_token": "1000.the-refresh-token",
        "client_id": "1000.CLIENT",
        "client_secret": "the-client-secret",
    }
    assert "the-client-secret" not in repr(credentials())
    assert "the-refresh-token" not in repr(credentials())


def test_rates_stay_below_a_hundred_a_minute() -> None:
    assert SPEC.burst + 60 * SPEC.rate_per_s < 100


def test_every_call_but_the_check_names_the_organisation() -> None:
    connector, http = zoho(always=no())
    connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    connector.read_order(OrderRef(SPEC.platform, number="1042"))
    connector.read_invoice("INV-1042")
    connector.cancel_order(CANCEL)
    connector.find_restock(RESTOCK)
    connector.find_credit_note(NOTE)
    connector.record_refund(REFUND)
    assert {dict(request.params)["organization_id"] for request in http.requests} == {ORGANIZATION}
    connector.check()
    assert http.requests[-1].params == ()


@pytest.mark.parametrize(
    ("_case", "said", "is_ok", "words"),
    [
        (
            "ours",
            ok(organizations=[{"organization_id": ORGANIZATION, "name": "Shop", "currency_code": "EUR"}]),
            True,
            "EUR",
        ),
        ("another one", ok(organizations=[{"organization_id": "1"}]), False, "organization_id"),
        ("none", ok(), False, "without"),
        ("no scope", no(401, 57), False, "scope"),
        ("refused", no(400, 4029), False, "organization_id"),
        ("too often", answer(429, ""), False, "often"),
        ("a failure", answer(500, ""), False, "500"),
    ],
)
def test_a_check_says_what_is_wrong(_case: str, said: Response, is_ok: bool, words: str) -> None:
    connector, _ = zoho(said)
    health = connector.check()
    assert health.is_ok is is_ok
    assert words in health.detail


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("_case", "said", "read", "write"),
    [
        ("yes", ok(), "dict", "dict"),
        ("created", answer(201, {"code": 0}), "dict", "dict"),
        ("a no behind a 200", no(200), "Refusal", "Refusal"),
        ("a no", no(400), "Refusal", "Refusal"),
        ("no such object", no(404), "Refusal", "Refusal"),
        ("no such method", no(405), "Refusal", "Refusal"),
        ("stale token", no(401, 14), "Retryable", "Retryable"),
        ("forbidden", no(403), "Retryable", "Retryable"),
        ("too often", no(429, 44), "Retryable", "Retryable"),
        ("broken", no(500, 1000), "Retryable", "Unknown"),
        ("a gateway", answer(502, "<html>"), "Retryable", "Unknown"),
        ("away", answer(503, ""), "Retryable", "Unknown"),
        ("a page", answer(200, "<html>"), "Unknown", "Unknown"),
        ("no code", answer(200, {"message": "success"}), "Unknown", "Unknown"),
        ("a code that is a text", answer(200, {"code": "0"}), "Unknown", "Unknown"),
        ("a code that is a truth", answer(200, {"code": False}), "Unknown", "Unknown"),
        ("a no without a code", answer(400, {"message": "no"}), "Unknown", "Unknown"),
        ("a yes with a failure's status", answer(400, {"code": 0}), "Unknown", "Unknown"),
        ("elsewhere", answer(302, ""), "Unknown", "Unknown"),
    ],
)
def test_only_code_nought_is_a_yes(_case: str, said: Response, read: str, write: str) -> None:
    assert type(read_body(said)).__name__ == read
    assert type(read_body(said, is_write=True)).__name__ == write


@pytest.mark.parametrize("code", [*HINTS, 1, 36101, 99999])
def test_nothing_hangs_on_any_other_code(code: int) -> None:
    connector, http = zoho(held(), no(400, code), held())
    outcome = connector.cancel_order(CANCEL)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "refused"
    assert str(code) in outcome.reason
    assert len(writes(http)) == 1


def test_too_often_keeps_zohos_own_hint() -> None:
    connector, _ = zoho(answer(429, {"code": 44}, {"Retry-After": "7"}))
    assert connector.read_order(OrderRef(SPEC.platform, ORDER_ID)) == Retryable(
        "throttled", "Zoho is asked too often", 7.0
    )


@pytest.mark.parametrize("bad", ["", "x", "../1", "46 00", "1/status/void", "46?a=b", "٤٦", "1" * 31])
def test_what_is_no_id_never_gets_into_a_path(bad: str) -> None:
    assert not is_id(bad)
    connector, http = zoho()
    facts = replace(FACTS, invoice_id=bad)
    if bad:
        assert isinstance(connector.read_order(OrderRef(SPEC.platform, bad)), Permanent)
    assert isinstance(connector.cancel_order(replace(CANCEL, order_id=bad)), Permanent)
    assert isinstance(connector.find_cancel_order(replace(CANCEL, order_id=bad)), Unknown)
    assert isinstance(connector.void_invoice(replace(VOID, invoice=facts)), Permanent)
    assert isinstance(connector.find_void_invoice(replace(VOID, invoice=facts)), Unknown)
    assert isinstance(connector.record_refund(replace(REFUND, credit_note_id=bad)), Permanent)
    assert isinstance(connector.find_record_refund(replace(REFUND, credit_note_id=bad)), Unknown)
    assert isinstance(connector.record_refund(replace(REFUND, account_code=bad)), Permanent)
    assert http.requests == []


@given(st.integers(0, 10**13), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_an_amount_is_the_same_as_number_and_as_text(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert money_of(Decimal(money.major), currency) == money
    assert money_of(money.major, currency) == money


@pytest.mark.parametrize("value", [None, True, "", "x", "1,50", "1e5", [], Decimal("NaN"), Decimal("0.001")])
def test_what_is_no_amount_is_none(value: Any) -> None:
    assert money_of(value, "EUR") is None


@pytest.mark.parametrize(
    ("value", "units"), [(2, 2), (Decimal("2.0"), 2), ("2", 2), (Decimal("1.5"), None), (-1, None)]
)
def test_units_are_whole(value: Any, units: int | None) -> None:
    assert units_of(value) == units


# ---------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("_case", "changes", "cancels", "words"),
    [
        ("fresh", {}, TakesBack.CALL, ""),
        ("a draft", {"status": "draft"}, TakesBack.CALL, ""),
        ("a word that is new to us", {"status": "onhold"}, TakesBack.CALL, ""),
        ("void", {"status": "void"}, TakesBack.CALL, ""),
        ("closed", {"status": "closed"}, TakesBack.PERSON, "closed"),
        ("shipped lines", {"line_items": [line(quantity_shipped=1)]}, TakesBack.PERSON, "sales return"),
        (
            "a shipped package",
            {"packages": [{"package_id": "1", "shipment_id": "2"}]},
            TakesBack.PERSON,
            "shipped",
        ),
        ("shipped by state alone", {"status": "partially_shipped"}, TakesBack.PERSON, "shipped"),
        ("packed lines", {"line_items": [line(quantity_packed=1)]}, TakesBack.PERSON, "packed"),
        (
            "a package",
            {"packages": [{"package_number": "PKG-7", "shipment_id": ""}]},
            TakesBack.PERSON,
            "PKG-7",
        ),
        (
            "paid",
            {"line_items": [line(quantity_invoiced=2)], "invoices": [in_order()]},
            TakesBack.REFUND,
            "",
        ),
        (
            "not paid",
            {
                "line_items": [line(quantity_invoiced=2)],
                "invoices": [in_order(status="overdue", balance=51)],
            },
            TakesBack.PERSON,
            "void that invoice",
        ),
        (
            "paid in part",
            {
                "line_items": [line(quantity_invoiced=2)],
                "invoices": [in_order(status="partially_paid", balance=1)],
            },
            TakesBack.PERSON,
            "paid in part",
        ),
        (
            "invoiced in part",
            {"line_items": [line(quantity_invoiced=1)], "invoices": [in_order()]},
            TakesBack.PERSON,
            "in part",
        ),
        (
            "two invoices",
            {"line_items": [line(quantity_invoiced=2)], "invoices": [in_order(), in_order()]},
            TakesBack.PERSON,
            "invoiced",
        ),
        (
            "an invoice without amounts",
            {"line_items": [line(quantity_invoiced=2)], "invoices": [in_order(total=None)]},
            TakesBack.PERSON,
            "invoiced",
        ),
        ("invoiced by state alone", {"status": "invoiced"}, TakesBack.PERSON, "invoiced"),
        ("a void invoice", {"invoices": [in_order(status="void")]}, TakesBack.CALL, ""),
    ],
)
def test_what_an_order_allows_is_told_before_anything_is_touched(
    _case: str, changes: Any, cancels: TakesBack, words: str
) -> None:
    connector, _ = zoho(held(**changes))
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    assert facts.cancels is cancels
    assert words in facts.cancel_refusal
    assert bool(facts.cancel_refusal) is bool(words)
    assert (facts.payments, facts.is_restock_carried, facts.cancels_lines) == ((), True, TakesBack.PERSON)
    connector, http = zoho(held(**changes), always=no())
    if cancels is not TakesBack.CALL:
        assert isinstance(connector.cancel_order(CANCEL), Permanent)
        assert writes(http) == []


def test_an_orders_facts() -> None:
    connector, http = zoho(held(line_items=[line(item_total=45.9, quantity_shipped=1, quantity_returned=1)]))
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    assert (facts.platform, facts.order_id, facts.number) == ("zoho-inventory", ORDER_ID, "#1042")
    assert (facts.total, facts.email, facts.customer_name) == (
        eur(5100),
        "ada@customers.example",
        "Ada Practice",
    )
    assert facts.created_at == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert facts.cancelled_at is None
    [only] = facts.lines
    assert (only.line_id, only.sku, only.title) == (LINE_ID, "SHEET", "Acrylic sheet")
    assert (only.quantity, only.unfulfilled, only.refundable, only.unit) == (2, 1, 1, eur(2295))
    assert http.calls == [f"GET /salesorders/{ORDER_ID}"]


def test_cancelled_items_are_no_units_any_more_and_a_void_order_is_cancelled() -> None:
    connector, _ = zoho(held(status="void", line_items=[line(quantity_cancelled=1)]))
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    assert facts.lines[0].quantity == 1
    assert facts.cancelled_at == datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "received", "is_open"),
    [("approved", "", True), ("draft", "", True), ("approved", "received", False), ("declined", "", False)],
)
def test_a_return_under_way_is_seen(status: str, received: str, is_open: bool) -> None:
    row = {"salesreturn_id": RETURN_ID, "salesreturn_status": status, "receive_status": received}
    connector, _ = zoho(held(salesreturns=[row]))
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    assert facts.is_return_open is is_open


@pytest.mark.parametrize(
    "changes",
    [
        {"total": None},
        {"total": "a lot"},
        {"currency_code": "eur"},
        {"line_items": [None]},
        {"line_items": [line(quantity=None)]},
        {"line_items": [line(line_item_id=7)]},
        {"line_items": [line(item_total=None, rate=None)]},
        {"created_time": "yesterday", "date": None},
        {"invoices": [{"invoice_id": 7}]},
        {"status": None},
    ],
)
def test_an_order_that_cannot_be_read_is_unknown_and_not_voided(changes: Any) -> None:
    connector, _ = zoho(held(**changes))
    assert isinstance(connector.read_order(OrderRef(SPEC.platform, ORDER_ID)), Unknown)
    connector, http = zoho(held(**changes))
    assert isinstance(connector.cancel_order(CANCEL), Retryable)
    assert writes(http) == []


def test_parts_of_units_are_a_persons() -> None:
    connector, _ = zoho(held(line_items=[line(quantity=1.5)]))
    found = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(found, Permanent)
    assert found.code == "part_units"


def test_another_order_than_the_one_asked_for_is_no_answer() -> None:
    connector, _ = zoho(held(salesorder_id="4600000000000000012"))
    assert isinstance(connector.read_order(OrderRef(SPEC.platform, ORDER_ID)), Unknown)


def row(number: str = "SO-1042", reference: str = "#1042", order_id: str = ORDER_ID) -> dict[str, Any]:
    return {
        "salesorder_id": order_id,
        "salesorder_number": number,
        "reference_number": reference,
        "status": "confirmed",
    }


def test_a_number_is_asked_for_with_and_without_its_mark_and_then_as_zohos_own() -> None:
    connector, http = zoho(always=page("salesorders"))
    assert isinstance(connector.read_order(OrderRef(SPEC.platform, number="#1042")), NotFound)
    asked = [
        {n: v for n, v in r.params if n.endswith("_number")}
        for r in http.requests
        if r.path == "/salesorders"
    ]
    assert asked == [
        {"reference_number": "1042"},
        {"reference_number": "#1042"},
        {"salesorder_number": "1042"},
    ]


def test_an_ignored_filter_is_read_to_the_lists_end() -> None:
    strange = [row(f"SO-{i}", f"#{i}", f"46{i:04d}") for i in range(200)]
    connector, http = zoho(
        page("salesorders", *strange, has_more=True),
        page("salesorders", row()),
        page("salesorders", *strange, has_more=True),
        page("salesorders", row()),
        held(),
    )
    assert isinstance(connector.read_order(OrderRef(SPEC.platform, number="1042")), OrderFacts)
    assert [dict(r.params)["page"] for r in http.requests[:4]] == ["1", "2", "1", "2"]


def test_a_list_without_an_end_is_no_proof_of_absence() -> None:
    connector, http = zoho(always=page("salesorders", row("SO-1", "#1"), has_more=True))
    found = connector.read_order(OrderRef(SPEC.platform, number="1042"))
    assert isinstance(found, Permanent)
    assert found.code == "list_too_long"
    assert len(http.requests) == 10


def test_two_orders_of_one_number_are_ambiguous_even_where_one_is_void() -> None:
    other = {**row("SO-7", "1042", "4600000000000000012"), "status": "void"}
    connector, _ = zoho(page("salesorders", other), page("salesorders", row()))
    found = connector.read_order(OrderRef(SPEC.platform, number="#1042"))
    assert isinstance(found, Permanent)
    assert found.code == "ambiguous"
    assert "SO-7 (void)" in found.reason


@pytest.mark.parametrize("number", ["", "#", "  "])
def test_no_number_is_no_question(number: str) -> None:
    connector, http = zoho()
    assert isinstance(connector.read_order(OrderRef(SPEC.platform, number=number)), Permanent)
    assert http.requests == []


TWO = [
    line(),
    line(line_item_id="4600000000000000022", item_id="4600000000000000032", sku="FRAME", quantity=1,
         rate=10, item_total=10),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_case", "changes", "asked", "worth"),
    [
        ("one unit", {"total": 61}, [(LINE_ID, 1)], 2550),
        ("all of one line", {"total": 61}, [(LINE_ID, 2)], 5100),
        ("without shipping", {"total": 66.5, "shipping_charge": 5.5}, [(LINE_ID, 2)], 5100),
        (
            "with the tax on top",
            {"total": 72.59, "line_items": [{**each, "tax_percentage": 19} for each in TWO]},
            [(LINE_ID, 1)],
            3035,
        ),
        (
            "with the tax inside",
            {
                "total": 61,
                "is_inclusive_tax": True,
                "line_items": [{**each, "tax_percentage": 19} for each in TWO],
            },
            [(LINE_ID, 1)],
            2550,
        ),
        (
            "less the order's own discount",
            {"total": 54.9, "discount_type": "entity_level"},
            [(LINE_ID, 2)],
            4590,
        ),
    ],
)
def test_a_quote_is_what_the_customer_owes_for_these_units(
    _case: str, changes: Any, asked: Any, worth: int
) -> None:
    body = order(**{"line_items": TWO, **changes})
    connector, _ = zoho(ok(salesorder=body), ok(salesorder=body))
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    assert connector.quote_lines(facts, tuple(LineQuantity(*each) for each in asked)) == eur(worth)


@pytest.mark.parametrize(
    ("changes", "asked", "code"),
    [
        ({"total": 70}, [(LINE_ID, 1)], "cannot_quote"),
        ({"total": 61}, [("501", 1)], "unknown_lines"),
        ({"total": 61}, [(LINE_ID, 3)], "too_many_units"),
    ],
)
def test_a_quote_is_never_guessed(changes: Any, asked: Any, code: str) -> None:
    body = order(**{"line_items": TWO, **changes})
    connector, _ = zoho(ok(salesorder=body), ok(salesorder=body))
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    said = connector.quote_lines(facts, tuple(LineQuantity(*each) for each in asked))
    assert isinstance(said, Permanent)
    assert said.code == code


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("done", [held(), ok(), held(status="void")], Done(ORDER_ID)),
        ("void before", [held(status="void")], AlreadyDone(ORDER_ID)),
        ("refused, and void by now", [held(), no(), held(status="void")], AlreadyDone(ORDER_ID)),
        ("refused behind a 200", [held(), no(200), held()], Permanent),
        ("a yes that is not seen", [held(), ok(), held()], Unknown),
        ("a yes, and the look fails", [held(), ok(), answer(500, "")], Unknown),
        ("refused, and the look fails", [held(), no(), answer(500, "")], Unknown),
        ("a failure", [held(), answer(500, "")], Unknown),
        ("too often", [held(), answer(429, "")], Retryable),
        ("no such order", [no(404)], Permanent),
        ("the look before fails", [answer(503, "")], Retryable),
    ],
)
def test_a_cancel(_case: str, answers: list[Response], expected: Any) -> None:
    connector, http = zoho(*answers)
    outcome = connector.cancel_order(CANCEL)
    if isinstance(expected, type):
        assert isinstance(outcome, expected)
    else:
        assert outcome == expected
    assert http.is_drained
    assert [r.path for r in writes(http)] in ([], [f"/salesorders/{ORDER_ID}/status/void"])
    assert all(r.json is None and r.form is None for r in writes(http))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (held(status="void"), Done),
        (held(), NotFound),
        (no(404), Unknown),
        (no(), Unknown),
        (held(total=None), Unknown),
    ],
)
def test_a_look_for_a_cancel(said: Response, expected: type) -> None:
    connector, _ = zoho(said)
    found = connector.find_cancel_order(CANCEL)
    assert isinstance(found, expected)
    if isinstance(found, NotFound):
        assert found.conclusive_after_s == 60.0
        assert found.conclusive_until_s is None


def test_trouble_on_the_wire_passes_through() -> None:
    connector, _ = zoho(held(), MaybeSentError("reset"))
    with pytest.raises(MaybeSentError):
        connector.cancel_order(CANCEL)


# ---------------------------------------------------------------- returns

SHIPPED = held(line_items=[line(quantity_packed=2, quantity_shipped=2)])


def test_a_return_and_its_receive_carry_our_reference_and_name_their_parents_in_the_query() -> None:
    connector, http = zoho(
        SHIPPED,
        answer(201, {"code": 0, "salesreturn": returned()}),
        ok(salesreturn=returned()),
        answer(201, {"code": 0, "salesreturn": receive()}),
    )
    assert connector.restock(RESTOCK) == Done("4600000000000000111")
    made, received = writes(http)
    assert dict(made.params) == {"organization_id": ORGANIZATION, "salesorder_id": ORDER_ID}
    assert made.json == {
        "salesreturn_number": f"RMA-{CASE}-1",
        "date": "2026-11-25",
        "reason": f"refundflow {CASE}.restock.1",
        "line_items": [
            {"item_id": ITEM_ID, "salesorder_item_id": LINE_ID, "quantity": 2, "non_receive_quantity": 0}
        ],
    }
    assert dict(received.params) == {"organization_id": ORGANIZATION, "salesreturn_id": RETURN_ID}
    assert received.json == {
        "date": "2026-11-25",
        "line_items": [{"line_item_id": "4600000000000000101", "quantity": 2}],
        "notes": f"refundflow {CASE}.restock.1",
    }


def has_return(**changes: Any) -> Response:
    shipped = [line(quantity_packed=2, quantity_shipped=2)]
    return held(line_items=shipped, salesreturns=[{**returned(), **changes}])


@pytest.mark.parametrize(
    ("_case", "shown", "code"),
    [
        ("received by us", returned(salesreturnreceives=[receive()]), "AlreadyDone"),
        ("received by hand", returned(receive_status="received"), "AlreadyDone"),
        ("received in part", returned(receive_status="partially_received"), "partly_received"),
        (
            "a part of it by hand",
            returned(salesreturnreceives=[receive(notes="")], receive_status="partially_received"),
            "partly_received",
        ),
        (
            "fewer by us",
            returned(salesreturnreceives=[receive(line_items=[{"line_item_id": "1", "quantity": 1}])]),
            "quantity_mismatch",
        ),
        ("twice by us", returned(salesreturnreceives=[receive(), receive()]), "booked_twice"),
        ("waits", returned(salesreturn_status="draft"), "not_approved"),
        ("declined", returned(salesreturn_status="declined"), "not_receivable"),
        (
            "over other units",
            returned(line_items=[{"line_item_id": "4600000000000000101", "quantity": 3}]),
            "quantity_mismatch",
        ),
        (
            "partly never to be received",
            returned(
                line_items=[{"line_item_id": "4600000000000000101", "quantity": 2, "non_receive_quantity": 1}]
            ),
            "quantity_mismatch",
        ),
        ("unreadable lines", returned(line_items=[{"quantity": 2}]), "unreadable"),
    ],
)
def test_a_return_that_is_there_is_never_made_again(_case: str, shown: Any, code: str) -> None:
    connector, http = zoho(has_return(), ok(salesreturn=shown))
    outcome = connector.restock(RESTOCK)
    assert writes(http) == []
    if isinstance(outcome, Permanent | Retryable):
        assert outcome.code == code
    else:
        assert type(outcome).__name__ == code


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("the create fails", [SHIPPED, answer(500, "")], Unknown),
        ("the create says nothing", [SHIPPED, ok()], Unknown),
        ("the create is refused", [SHIPPED, no(), SHIPPED], Permanent),
        ("refused, and the look fails", [SHIPPED, no(), answer(500, "")], Unknown),
        ("for no order", [SHIPPED, ok(salesreturn=returned(salesorder_id=""))], Permanent),
        (
            "the receive fails",
            [SHIPPED, ok(salesreturn=returned()), ok(salesreturn=returned()), answer(500, "")],
            Unknown,
        ),
        (
            "the receive is refused",
            [SHIPPED, ok(salesreturn=returned()), ok(salesreturn=returned()), no(), has_return(),
             ok(salesreturn=returned())],
            Permanent,
        ),
        (
            "the receive is refused, because it is there",
            [SHIPPED, ok(salesreturn=returned()), ok(salesreturn=returned()), no(), has_return(),
             ok(salesreturn=returned(salesreturnreceives=[receive()]))],
            AlreadyDone,
        ),
        (
            "the create is refused, because it is there",
            [SHIPPED, no(400, 1001), has_return(), ok(salesreturn=returned()), ok(salesreturn=receive())],
            Done,
        ),
        (
            "another number of units",
            [SHIPPED, ok(salesreturn=returned()), ok(salesreturn=returned()),
             ok(salesreturn=receive(line_items=[{"quantity": 1}]))],
            Permanent,
        ),
    ],
)  # fmt: skip
def test_a_restock(_case: str, answers: list[Response], expected: type) -> None:
    connector, http = zoho(*answers)
    assert isinstance(connector.restock(RESTOCK), expected)
    assert http.is_drained


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("no return", [SHIPPED], NotFound),
        ("not received", [has_return(), ok(salesreturn=returned())], NotFound),
        ("received", [has_return(), ok(salesreturn=returned(salesreturnreceives=[receive()]))], Done),
        (
            "under another number",
            [has_return(salesreturn_number="RMA-1"), ok(salesreturn=returned())],
            NotFound,
        ),
        ("twice", [held(salesreturns=[returned(), returned()])], Unknown),
        ("no order", [no(404)], Unknown),
        ("the return fails", [has_return(), answer(500, "")], Retryable),
    ],
)
def test_a_look_for_a_restock(_case: str, answers: list[Response], expected: type) -> None:
    connector, _ = zoho(*answers)
    found = connector.find_restock(RESTOCK)
    assert isinstance(found, expected)
    if isinstance(found, NotFound):
        assert found.conclusive_after_s == 60.0


def test_another_steps_return_is_not_ours() -> None:
    tenth = {**returned(), "salesreturn_number": f"RMA-{CASE}-10", "reason": f"refundflow {CASE}.restock.10"}
    connector, _ = zoho(held(salesreturns=[tenth]))
    assert isinstance(connector.find_restock(RESTOCK), NotFound)


def test_an_order_that_does_not_say_its_returns_is_not_taken_for_one_without() -> None:
    body = order(line_items=[line(quantity_shipped=2)])
    del body["salesreturns"]
    others = [{"salesreturn_id": "4600000000000000082", "salesreturn_number": "RMA-1", "reason": ""}] * 200
    connector, http = zoho(
        ok(salesorder=body),
        page("salesreturns", *others, has_more=True),
        page("salesreturns", returned()),
        ok(salesreturn=returned(salesreturnreceives=[receive()])),
    )
    assert connector.restock(RESTOCK) == AlreadyDone("4600000000000000111")
    assert writes(http) == []


def test_returns_have_numbers_of_their_own() -> None:
    numbers = {
        return_number(replace(RESTOCK, step_key=mint_step_key(case, "restock", number)))  # type: ignore[arg-type] # a case's id
        for case in (CASE, "RF-00K3ZQ4M7ABCDEG")
        for number in (1, 2, 11)
    }
    assert len(numbers) == 6


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=6),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=3),
)
def test_units_are_spread_without_loss_or_excess(
    places: list[tuple[str, int]], wanted: list[tuple[str, int]]
) -> None:
    items = [ItemQuantity(sku, sum(n for s, n in wanted if s == sku)) for sku in {s for s, _ in wanted}]
    chosen, missing = spread(items, [(index, sku, n) for index, (sku, n) in enumerate(places)])
    taken = dict(chosen)
    assert len(taken) == len(chosen)
    for index, n in chosen:
        assert 0 < n <= places[index][1]
    for item in items:
        got = sum(n for index, n in chosen if places[index][0] == item.sku)
        stock = sum(n for sku, n in places if sku == item.sku)
        assert got == min(item.quantity, stock)
        assert (f"{item.quantity - got} x {item.sku}" in missing) is (got < item.quantity)


CARRIED = replace(RESTOCK, is_return=False, carried_by=f"{CASE}.cancel_order.1")
BY_NOTE = replace(RESTOCK, is_return=False, carried_by=f"{CASE}.post_ledger.1")


@pytest.mark.parametrize(
    ("_case", "command", "answers", "expected"),
    [
        ("void", CARRIED, [held(status="void")], Done),
        ("not void", CARRIED, [held()], NotFound),
        ("unreadable", CARRIED, [held(total=None)], Unknown),
        ("void all the same", BY_NOTE, [held(status="void")], Done),
        ("no note", BY_NOTE, [held(), page("creditnotes")], NotFound),
        ("a note, and not void", BY_NOTE, [held(), page("creditnotes", note())], Permanent),
        ("another's note", BY_NOTE, [held(), page("creditnotes", note(reference_number="x"))], NotFound),
        ("the list fails", BY_NOTE, [held(), answer(500, "")], Retryable),
    ],
)
def test_a_carried_restock_is_only_proven(
    _case: str, command: Restock, answers: list[Response], expected: type
) -> None:
    connector, http = zoho(*answers, *answers)
    assert isinstance(connector.find_restock(command), expected)
    outcome = connector.restock(command)
    if expected is NotFound:
        assert isinstance(outcome, Retryable)
        assert outcome.code == "not_there"
    else:
        assert isinstance(outcome, expected)
    assert writes(http) == []


# ---------------------------------------------------------------- invoices


@pytest.mark.parametrize(
    ("_case", "changes", "state", "due", "paid", "credited"),
    [
        ("paid", {}, InvoiceState.PAID, 0, 5100, 0),
        ("numbers", {"total": 51, "balance": 0.0}, InvoiceState.PAID, 0, 5100, 0),
        ("sent", {"status": "sent", "balance": 51}, InvoiceState.OPEN, 5100, 0, 0),
        ("overdue", {"status": "overdue", "balance": 51}, InvoiceState.OPEN, 5100, 0, 0),
        ("in part", {"status": "partially_paid", "balance": 20}, InvoiceState.OPEN, 2000, 3100, 0),
        (
            "in part and credited",
            {"status": "partially_paid", "balance": 20, "payment_made": 21, "credits_applied": 10},
            InvoiceState.OPEN,
            2000,
            2100,
            1000,
        ),
        ("draft", {"status": "draft", "balance": 51}, InvoiceState.DRAFT, 5100, 0, 0),
        ("void", {"status": "void", "balance": 0}, InvoiceState.VOIDED, 0, 0, 0),
        ("void with a balance", {"status": "void", "balance": 51}, InvoiceState.VOIDED, 0, 0, 0),
    ],
)
def test_an_invoice_is_read(
    _case: str, changes: Any, state: InvoiceState, due: int, paid: int, credited: int
) -> None:
    connector, _ = zoho(page("invoices", in_order()), billed(**changes))
    facts = connector.read_invoice("INV-1042")
    assert isinstance(facts, InvoiceFacts)
    assert (facts.state, facts.total, facts.due, facts.paid, facts.credited) == (
        state,
        eur(5100),
        eur(due),
        eur(paid),
        eur(credited),
    )
    assert facts.contact_id == CUSTOMER_ID
    assert not facts.is_allocated


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("an ignored filter", [page("invoices", in_order(invoice_number="INV-7"), in_order()), billed()], "InvoiceFacts"),
        ("of its order", [page("invoices"), page("salesorders", row(reference="INV-1042")), page("salesorders"), sold(), billed()], "InvoiceFacts"),
        (
            "a void one and a live one",
            [page("invoices", in_order(status="void", invoice_id="46"), in_order()), billed()],
            "InvoiceFacts",
        ),
        ("two", [page("invoices", in_order(), in_order(invoice_id="4600000000000000042"))], "Permanent"),
        ("none", [page("invoices"), page("salesorders"), page("salesorders"), page("salesorders")], "NotFound"),
        ("an order without", [page("invoices"), page("salesorders", row(reference="INV-1042")), page("salesorders"), held()], "NotFound"),
        ("a row that cannot be read", [page("invoices", {"invoice_number": "INV-1042"})], "Unknown"),
        ("a state that is new to us", [page("invoices", in_order()), billed(status="disputed")], "Unknown"),
        ("no amounts", [page("invoices", in_order()), billed(balance=None)], "Unknown"),
        ("refused", [no()], "Permanent"),
        ("broken", [answer(500, "")], "Retryable"),
    ],
)  # fmt: skip
def test_which_invoice_is_meant(_case: str, answers: list[Response], expected: str) -> None:
    connector, http = zoho(*answers)
    assert type(connector.read_invoice("INV-1042")).__name__ == expected
    assert http.is_drained


UNPAID = billed(status="sent", balance=51)


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("done", [UNPAID, ok(), billed(status="void")], Done(INVOICE_ID)),
        ("void before", [billed(status="void")], AlreadyDone(INVOICE_ID)),
        ("refused, and void by now", [UNPAID, no(), billed(status="void")], AlreadyDone(INVOICE_ID)),
        ("refused", [UNPAID, no(200), UNPAID], Permanent),
        ("a yes that is not seen", [UNPAID, ok(), UNPAID], Unknown),
        ("a failure", [UNPAID, answer(500, "")], Unknown),
        ("paid", [billed()], Permanent),
        ("paid in part", [billed(status="partially_paid", balance=1)], Permanent),
        ("credited in part", [billed(status="sent", balance=51, credits_applied=1)], Permanent),
        ("unreadable", [billed(total=None)], Retryable),
        ("not there", [no(404)], Permanent),
    ],
)
def test_an_invoice_is_voided_only_while_nothing_was_paid(
    _case: str, answers: list[Response], expected: Any
) -> None:
    connector, http = zoho(*answers)
    outcome = connector.void_invoice(VOID)
    assert isinstance(outcome, expected) if isinstance(expected, type) else outcome == expected
    assert http.is_drained


@pytest.mark.parametrize(
    ("said", "expected"),
    [(billed(status="void"), Done), (UNPAID, NotFound), (no(404), Unknown), (billed(status=None), Unknown)],
)
def test_a_look_for_a_void_of_an_invoice(said: Response, expected: type) -> None:
    connector, _ = zoho(said)
    assert isinstance(connector.find_void_invoice(VOID), expected)


# ---------------------------------------------------------------- credit notes

NOTHING = page("creditnotes")


def written(**changes: Any) -> Response:
    return answer(201, {"code": 0, "creditnote": note(**changes)})


def test_a_note_over_units_is_tied_to_the_invoices_lines() -> None:
    connector, http = zoho(NOTHING, billed(), page("salesorders", row()), sold(), written())
    command = replace(NOTE, items=(ItemQuantity("SHEET", 2),), restock=True)
    assert connector.credit_note(command) == Done(NOTE_ID)
    [sent] = writes(http)
    assert dict(sent.params) == {
        "organization_id": ORGANIZATION,
        "invoice_id": INVOICE_ID,
        "ignore_auto_number_generation": "true",
    }
    assert sent.json == {
        "customer_id": CUSTOMER_ID,
        "date": "2026-11-25",
        "creditnote_number": f"CN-{CASE}-1",
        "reference_number": f"{CASE}.post_ledger.1",
        "notes": "Order #1042 cancelled",
        "line_items": [
            {
                "item_id": ITEM_ID,
                "quantity": 2,
                "rate": Decimal("25.5"),
                "invoice_id": INVOICE_ID,
                "invoice_item_id": INVOICE_LINE_ID,
                "is_item_shipped": False,
            }
        ],
    }


def test_a_note_over_an_amount_has_one_line_without_an_article() -> None:
    connector, http = zoho(NOTHING, billed(), written(total=12.34))
    assert connector.credit_note(replace(NOTE, amount=eur(1234))) == Done(NOTE_ID)
    [sent] = writes(http)
    assert sent.json["line_items"] == [
        {"name": "Order #1042 cancelled", "quantity": 1, "rate": Decimal("12.34")}
    ]
    assert "is_inclusive_tax" not in sent.json


def taxed(item: Mapping[str, Any], tax_id: str = "4600000000000000201") -> dict[str, Any]:
    return {**item, "tax_id": tax_id, "tax_percentage": 19}


def test_one_tax_is_inside_the_amount_and_several_are_a_persons() -> None:
    [item] = invoice()["line_items"]
    connector, http = zoho(NOTHING, billed(line_items=[taxed(item)]), written())
    assert connector.credit_note(NOTE) == Done(NOTE_ID)
    [sent] = writes(http)
    assert sent.json["is_inclusive_tax"] is True
    assert sent.json["line_items"][0]["tax_id"] == "4600000000000000201"
    connector, http = zoho(NOTHING, billed(line_items=[taxed(item), taxed(item, "4600000000000000202")]))
    outcome = connector.credit_note(NOTE)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "ambiguous_tax"
    assert NOTE.step_key in outcome.reason
    assert writes(http) == []


def test_units_with_the_tax_on_top_come_to_the_amount_with_it() -> None:
    [item] = invoice()["line_items"]
    sold_taxed = held(
        line_items=[line(quantity_invoiced=2, tax_percentage=19)], invoices=[in_order()], total=60.69
    )
    connector, http = zoho(
        NOTHING,
        billed(line_items=[taxed(item)], total="60.69", salesorder_id=ORDER_ID),
        sold_taxed,
        written(total=60.69),
    )
    command = replace(NOTE, amount=eur(6069), items=(ItemQuantity("SHEET", 2),), restock=True)
    assert connector.credit_note(command) == Done(NOTE_ID)
    [sent] = writes(http)
    assert sent.json["is_inclusive_tax"] is False
    assert sent.json["line_items"][0]["tax_id"] == "4600000000000000201"


@pytest.mark.parametrize(
    ("_case", "bill", "answers"),
    [
        ("a discounted unit with parts of a cent", {"line_items": [{**invoice()["line_items"][0], "item_total": 50.99}]},
         [page("salesorders", row()), sold()]),
        ("no order of that number", {}, [page("salesorders")]),
        ("two orders of that number", {}, [page("salesorders", row(), row(order_id="4600000000000000012"))]),
        ("an order that does not show the invoice", {}, [page("salesorders", row()), held()]),
        ("an invoice without an order", {"reference_number": " "}, []),
        ("shipped", {}, [page("salesorders", row()),
                         held(invoices=[in_order()], line_items=[line(quantity_shipped=1)])]),
        ("packed", {}, [page("salesorders", row()),
                        held(invoices=[in_order()], line_items=[line(quantity_packed=1)])]),
        ("not paid", {"status": "sent", "balance": 51}, []),
    ],
)  # fmt: skip
def test_units_that_are_not_certain_are_never_said_to_come_back(
    _case: str, bill: Any, answers: list[Response]
) -> None:
    command = replace(NOTE, items=(ItemQuantity("SHEET", 2),), restock=True)
    connector, http = zoho(NOTHING, billed(**bill), *answers)
    outcome = connector.credit_note(command)
    assert isinstance(outcome, Permanent)
    assert outcome.code == "units_unmatched"
    assert writes(http) == []
    connector, http = zoho(NOTHING, billed(**bill), *answers, written())
    assert connector.credit_note(replace(command, restock=False)) == Done(NOTE_ID)
    assert "item_id" not in writes(http)[0].json["line_items"][0]


@pytest.mark.parametrize("trouble", [answer(500, ""), answer(429, "")])
@pytest.mark.parametrize("at", range(4))
def test_a_look_before_the_note_that_fails_writes_nothing(trouble: Response, at: int) -> None:
    looks = [NOTHING, billed(), page("salesorders", row()), sold()]
    connector, http = zoho(*looks[:at], trouble)
    command = replace(NOTE, items=(ItemQuantity("SHEET", 2),))
    assert isinstance(connector.credit_note(command), Retryable)
    assert writes(http) == []


@pytest.mark.parametrize(
    ("paid", "due", "noted", "named"),
    [
        (5100, 0, 1000, True),  # nothing is due: nothing can be taken from the refund
        (5100, 0, 5100, True),
        (3000, 2100, 5100, True),  # more than was paid: the rest is forgiven
        (3000, 2100, 1000, False),  # less: it goes back to the customer, and must be left to record
        (0, 5100, 5100, False),  # paid, as far as Zoho knows, by nobody
    ],
)
def test_the_invoice_is_the_notes_parent_only_where_that_leaves_the_refund(
    paid: int, due: int, noted: int, named: bool
) -> None:
    assert is_parent(replace(FACTS, paid=eur(paid), due=eur(due)), eur(noted)) is named


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("there before", [page("creditnotes", note())], AlreadyDone(NOTE_ID)),
        ("closed before", [page("creditnotes", note(status="closed", balance=0))], AlreadyDone(NOTE_ID)),
        ("there with another amount", [page("creditnotes", note(total=50))], Permanent),
        ("there in another currency", [page("creditnotes", note(currency_code="USD"))], Permanent),
        ("there and void", [page("creditnotes", note(status="void"))], Permanent),
        ("there twice", [page("creditnotes", note(), note(creditnote_id="46"))], Permanent),
        ("there and unreadable", [page("creditnotes", note(total=None))], Unknown),
        ("there and waiting", [page("creditnotes", note(status="pending_approval"))], Permanent),
        ("an ignored filter", [page("creditnotes", note(reference_number="x")), billed(), written()], Done(NOTE_ID)),
        ("another number", [NOTHING, billed(), written(creditnote_number="CN-7")],
         Done(NOTE_ID, "Zoho numbered it CN-7")),
        ("another amount", [NOTHING, billed(), written(total=60.69)], Permanent),
        ("nothing to read", [NOTHING, billed(), ok()], Unknown),
        ("a failure", [NOTHING, billed(), answer(502, "")], Unknown),
        ("refused", [NOTHING, billed(), no(), NOTHING, NOTHING], Permanent),
        ("refused, because it is there", [NOTHING, billed(), no(400, 1001), page("creditnotes", note())],
         AlreadyDone(NOTE_ID)),
        ("refused, because the number is taken",
         [NOTHING, billed(), no(400, 1001), NOTHING, page("creditnotes", note(reference_number="x"))], Permanent),
        ("refused, and the look fails", [NOTHING, billed(), no(), answer(500, "")], Unknown),
        ("a draft", [NOTHING, billed(), written(status="draft"), ok(), ok(creditnote=note())], Done(NOTE_ID)),
        ("a draft before", [page("creditnotes", note(status="draft")), ok(), ok(creditnote=note())], Done(NOTE_ID)),
        ("a draft that stays one",
         [page("creditnotes", note(status="draft")), no(), ok(creditnote=note(status="draft"))], Permanent),
        ("a draft that was opened meanwhile",
         [page("creditnotes", note(status="draft")), no(), ok(creditnote=note())], Done(NOTE_ID)),
        ("opened, and the look fails", [page("creditnotes", note(status="draft")), ok(), answer(500, "")], Unknown),
        ("the opening fails", [page("creditnotes", note(status="draft")), answer(500, "")], Unknown),
        ("void invoice", [NOTHING, billed(status="void")], Permanent),
        ("draft invoice", [NOTHING, billed(status="draft")], Permanent),
        ("another currency", [NOTHING, billed(currency_code="USD")], Permanent),
        ("no customer", [NOTHING, billed(customer_id="me")], Permanent),
        ("no invoice", [NOTHING, no(404)], Permanent),
    ],
)  # fmt: skip
def test_a_credit_note(_case: str, answers: list[Response], expected: Any) -> None:
    connector, http = zoho(*answers)
    outcome = connector.credit_note(NOTE)
    assert isinstance(outcome, expected) if isinstance(expected, type) else outcome == expected
    assert http.is_drained
    assert len([r for r in writes(http) if r.path == "/creditnotes"]) <= 1


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("there", [page("creditnotes", note())], Done),
        ("not there", [NOTHING, NOTHING], NotFound),
        ("a draft", [page("creditnotes", note(status="draft"))], NotFound),
        ("void", [page("creditnotes", note(status="void"))], Permanent),
        ("a void one and a live one", [page("creditnotes", note(status="void"), note())], Done),
        ("another amount", [page("creditnotes", note(total=1))], Permanent),
        ("the number alone", [NOTHING, page("creditnotes", note(reference_number=""))], Permanent),
        ("refused", [no()], Unknown),
        ("a list without an end", [page("creditnotes", has_more=True)] * 10, Unknown),
        ("garbage", [ok(creditnotes=[3])], Unknown),
    ],
)
def test_a_look_for_a_credit_note(_case: str, answers: list[Response], expected: type) -> None:
    connector, http = zoho(*answers)
    found = connector.find_credit_note(NOTE)
    assert isinstance(found, expected)
    assert http.is_drained
    if isinstance(found, NotFound):
        assert found.conclusive_after_s == 60.0


# ---------------------------------------------------------------- refunds

UNTOUCHED = page("creditnote_refunds")
OPEN = ok(creditnote=note())


def test_a_refund_is_written_with_our_reference_and_the_payers() -> None:
    connector, http = zoho(UNTOUCHED, OPEN, ok(creditnote_refund=refund()))
    assert connector.record_refund(REFUND) == Done(REFUND_ID)
    [sent] = writes(http)
    assert sent.path == f"/creditnotes/{NOTE_ID}/refunds"
    assert sent.json == {
        "date": "2026-11-25",
        "refund_mode": "banktransfer",
        "reference_number": f"{CASE}.post_ledger.2",
        "amount": Decimal("51.00"),
        "from_account_id": ACCOUNT_ID,
        "description": f"refundflow {CASE}.post_ledger.2 re_3Abc",
    }


@pytest.mark.parametrize(
    ("_case", "answers", "expected"),
    [
        ("there before", [page("creditnote_refunds", refund())], AlreadyDone(REFUND_ID)),
        ("there on a later page", [page("creditnote_refunds", refund(reference_number="x", description="", amount=1),
                                        has_more=True), page("creditnote_refunds", refund())], AlreadyDone(REFUND_ID)),
        ("there under another reference", [page("creditnote_refunds", refund(reference_number="re_3Abc"))],
         AlreadyDone(REFUND_ID)),
        ("there with another amount", [page("creditnote_refunds", refund(amount=50))], Permanent),
        ("there twice", [page("creditnote_refunds", refund(), refund())], Permanent),
        ("there and unreadable", [page("creditnote_refunds", refund(amount=None))], Unknown),
        ("another's that is unreadable",
         [page("creditnote_refunds", refund(reference_number="x", description="", amount=None))], Unknown),
        ("no balance", [UNTOUCHED, ok(creditnote=note(balance=50.99))], Permanent),
        ("void note", [UNTOUCHED, ok(creditnote=note(status="void"))], Permanent),
        ("another currency", [UNTOUCHED, ok(creditnote=note(currency_code="USD"))], Permanent),
        ("no balance told", [UNTOUCHED, ok(creditnote=note(balance=None))], Retryable),
        ("another amount", [UNTOUCHED, OPEN, ok(creditnote_refund=refund(amount=50))], Permanent),
        ("nothing to read", [UNTOUCHED, OPEN, ok()], Unknown),
        ("a failure", [UNTOUCHED, OPEN, answer(500, "")], Unknown),
        ("refused", [UNTOUCHED, OPEN, no(), UNTOUCHED], Permanent),
        ("refused behind a 200", [UNTOUCHED, OPEN, no(200), UNTOUCHED], Permanent),
        ("refused, and there by now", [UNTOUCHED, OPEN, no(), page("creditnote_refunds", refund())],
         AlreadyDone(REFUND_ID)),
        ("refused, and the look fails", [UNTOUCHED, OPEN, no(), answer(500, "")], Unknown),
        ("too often", [UNTOUCHED, OPEN, answer(429, "")], Retryable),
        ("the look before fails", [answer(500, "")], Retryable),
        ("the look before says nothing", [ok()], Retryable),
        ("no such note", [no(404)], Permanent),
    ],
)  # fmt: skip
def test_a_refund_record(_case: str, answers: list[Response], expected: Any) -> None:
    connector, http = zoho(*answers)
    outcome = connector.record_refund(REFUND)
    assert isinstance(outcome, expected) if isinstance(expected, type) else outcome == expected
    assert http.is_drained
    assert len(writes(http)) <= 1


@pytest.mark.parametrize(
    ("_case", "rows", "expected"),
    [
        ("none", [], "NotFound"),
        ("ours", [refund()], "Done"),
        (
            "another step's",
            [refund(reference_number=f"{CASE}.post_ledger.20", description=f"x {CASE}.post_ledger.21")],
            "NotFound",
        ),
        ("the payer's, by hand", [refund(reference_number="re_3Abc", description="")], "AlreadyDone"),
        (
            "the payer's in the description",
            [refund(reference_number="7", description="bank, re_3Abc")],
            "AlreadyDone",
        ),
        (
            "the payer's over another amount",
            [refund(reference_number="re_3Abc", description="", amount=1)],
            "NotFound",
        ),
        ("one that says nothing", [refund(reference_number="", description="")], "ambiguous_refund"),
        (
            "another amount that says nothing",
            [refund(reference_number="", description="", amount=1)],
            "NotFound",
        ),
    ],
)
def test_which_refund_is_ours(_case: str, rows: list[Any], expected: str) -> None:
    connector, _ = zoho(page("creditnote_refunds", *rows))
    found = connector.find_record_refund(REFUND)
    assert getattr(found, "code", type(found).__name__) == expected


# ---------------------------------------------------------------- deliveries

INBOUND = ZohoInbound(Secret("new-secret, old-secret"), "shopify")


def flagged(**changes: Any) -> dict[str, Any]:
    fields = [{"customfield_id": "46", "label": "Inventory flag", "value": "unfulfilled"}]
    return {"salesorder": order(custom_fields=fields, **changes)}


def delivery(body: Any, secret: str = "new-secret", header: str = "x-webhook-secret") -> Delivery:
    return Delivery({header: secret}, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("secret", ["new-secret", "old-secret"])
def test_either_secret_holds_while_one_is_rotated(secret: str) -> None:
    verified = INBOUND.verify(delivery(flagged(), secret), NOW)
    assert isinstance(verified, Verified)
    assert verified.topic == "salesorder.unfulfilled"


@pytest.mark.parametrize(
    ("_case", "inbound", "given_secret", "header"),
    [
        ("wrong", INBOUND, "another", "x-webhook-secret"),
        ("none", INBOUND, "", "x-webhook-secret"),
        ("both at once", INBOUND, "new-secret, old-secret", "x-webhook-secret"),
        ("in another header", INBOUND, "new-secret", "x-other"),
        ("nothing set", ZohoInbound(Secret(), "shopify"), "", "x-webhook-secret"),
        ("only commas set", ZohoInbound(Secret(" , "), "shopify"), "", "x-webhook-secret"),
        ("not a text of one kind", INBOUND, "new-s\udce9cret", "x-webhook-secret"),
    ],
)
def test_anything_else_is_refused_without_telling_the_secret(
    _case: str, inbound: ZohoInbound, given_secret: str, header: str
) -> None:
    said = inbound.verify(delivery(flagged(), given_secret, header), NOW)
    assert isinstance(said, Refused)
    assert "new-secret" not in said.reason


def test_the_header_can_be_chosen() -> None:
    inbound = replace(INBOUND, header="X-Shop-Hook")
    assert isinstance(inbound.verify(delivery(flagged(), header="x-shop-hook"), NOW), Verified)
    assert isinstance(inbound.verify(delivery(flagged()), NOW), Refused)


def test_one_state_of_one_order_is_one_event() -> None:
    def event(**changes: Any) -> str:
        verified = INBOUND.verify(delivery(flagged(**changes)), NOW)
        assert isinstance(verified, Verified)
        return verified.source_event_id

    assert event() == event(customer_name="Ada, whose name was spelled wrong")
    assert event() != event(last_modified_time="2026-11-21T10:00:01+0100")
    assert event() != event(salesorder_id="4600000000000000012")
    assert len(event()) == 64


@pytest.mark.parametrize(
    ("value", "topic"),
    [
        ("unfulfilled", "salesorder.unfulfilled"),
        ("Unfulfilled ", "salesorder.unfulfilled"),
        ("return-eligible", "salesorder.return-eligible"),
        ("Return Eligible", "salesorder.return-eligible"),
        ("return_eligible", "salesorder.return-eligible"),
    ],
)
def test_a_flag_asks_for_the_orders_cancellation(value: str, topic: str) -> None:
    body = {"salesorder": order(custom_fields=[{"label": "inventory flag", "value": value}])}
    verified = INBOUND.verify(delivery(body), NOW)
    assert isinstance(verified, Verified)
    assert verified.topic == topic
    assert INBOUND.read_event(topic, json.dumps(body).encode()) == CancellationRequested(
        OrderRef("shopify", number="#1042"), reason="inventory"
    )


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("no fields", {}),
        ("empty", {"custom_fields": [{"label": "Inventory flag", "value": ""}]}),
        ("another word", {"custom_fields": [{"label": "Inventory flag", "value": "counted"}]}),
        ("another field", {"custom_fields": [{"label": "Gift", "value": "unfulfilled"}]}),
        ("a state of that name", {"status": "unfulfilled"}),
        ("strange fields", {"custom_fields": [None, {"label": 7, "value": []}]}),
    ],
)
def test_an_order_without_a_flag_is_irrelevant(_case: str, changes: Any) -> None:
    body = {"salesorder": order(**changes)}
    verified = INBOUND.verify(delivery(body), NOW)
    assert isinstance(verified, Verified)
    assert verified.topic == "salesorder.edited"
    assert isinstance(INBOUND.read_event(verified.topic, json.dumps(body).encode()), Irrelevant)


def test_the_flag_may_stand_in_the_status_where_that_is_said() -> None:
    inbound = replace(INBOUND, flag_field="status")
    body = json.dumps({"salesorder": order(status="return-eligible")}).encode()
    assert isinstance(inbound.read_event("salesorder.return-eligible", body), CancellationRequested)
    assert isinstance(inbound.read_event("salesorder.edited", json.dumps(flagged()).encode()), Irrelevant)


@pytest.mark.parametrize("platform", ["", "zoho-inventory"])
def test_orders_that_live_in_zoho_are_named_by_their_id(platform: str) -> None:
    inbound = replace(INBOUND, order_platform=platform)
    said = inbound.read_event("salesorder.unfulfilled", json.dumps(flagged(reference_number="")).encode())
    assert said == CancellationRequested(OrderRef("zoho-inventory", ORDER_ID, "SO-1042"), reason="inventory")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "salesorder"),
        (b"{", "salesorder"),
        (b"[]", "salesorder"),
        (b'{"salesorder": {}}', "salesorder"),
        (b'{"salesorder": "SO-1042"}', "salesorder"),
        (json.dumps(flagged(reference_number=" ")).encode(), "salesorder.reference_number"),
        (json.dumps(flagged(reference_number=None)).encode(), "salesorder.reference_number"),
    ],
)
def test_a_delivery_that_cannot_be_read_is_kept_and_says_what_is_missing(body: bytes, field: str) -> None:
    assert isinstance(INBOUND.verify(delivery(body), NOW), Verified)
    with pytest.raises(MalformedError) as raised:
        INBOUND.read_event("salesorder.edited", body)
    assert raised.value.field == field


# ---------------------------------------------------------------- redaction


def test_the_audit_keeps_no_customer_and_no_token() -> None:
    kept = str(
        Redaction(SPEC.redact).json(
            {
                "salesorder": {
                    "customer_name": "Ada Lovelace",
                    "contact_persons_associated": [
                        {"contact_person_name": "Ada Lovelace", "phone": "+491701234567"}
                    ],
                    "billing_address": {"address": "Main Street 1", "city": "Springfield"},
                    "salesperson_name": "Grace Hopper",
                    "invoice_url": "https://invoice.example/SecurePayment?CInvoiceID=abc",
                    "gst_no": "22AAAAA0000A1Z5",
                    "notes": "call ada@shop.example",
                },
                "access_token": "1000.secret",
                "refresh_token": "1000.other",
            }
        )
    )
    for word in ("Lovelace", "49170", "Main Street", "Hopper", "SecurePayment", "22AAAAA", "ada@", "1000."):
        assert word not in kept, word


def test_what_an_audit_is_read_for_is_kept() -> None:
    kept = str(Redaction(SPEC.redact).json(order() | {"creditnote": note(), "refund": refund()}))
    for word in ("SO-1042", "#1042", "SHEET", f"{CASE}.post_ledger.1", "re_3Abc"):
        assert word in kept, word


def test_every_declared_operation_is_documented() -> None:
    assert all(operation.doc.startswith("https://www.zoho.com/") for operation in SPEC.operations.values())
    assert Capability.REFUND not in SPEC.operations


def test_the_sample_order_is_one() -> None:
    read = read_order(json.loads(json.dumps(order()), parse_float=Decimal))
    assert not isinstance(read, Permanent | Unknown)
    assert read.goods == eur(5100)
