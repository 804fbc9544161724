"""Zoho Inventory against its published OpenAPI documents (1.0.0): what we send fits them, and what they show is read.

They publish an example for each field and none of a whole answer; `shown` puts one together. What is known to be missing
from them is named in `GAPS`, and checked to be missing still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from refundflow.connectors.base import Capability
from refundflow.connectors.zoho_inventory import SPEC, ZohoInventory
from refundflow.domain.facts import (
    InvoiceFacts,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderRef,
    TakesBack,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent
from refundflow.transport.base import Request
from tests.support.commands import INVOICE, STEP_KEY, command_for
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_request, check_response, load, specs

ORGANIZATION: Final = "10234695"
ORDER_ID: Final = "4815000000044895"
INVOICE_ID: Final = "982000000567114"
NOTE_ID: Final = "90300000072369"
RETURN_ID: Final = "4815000000044972"

CANCEL: Any = command_for(Capability.CANCEL_ORDER, {"order_id": ORDER_ID})
RESTOCK: Any = command_for(
    Capability.RESTOCK,
    {
        "order_id": ORDER_ID,
        "is_return": True,
        "location": "460000000038080",
        "lines": (LineQuantity("4815000000044897", 2),),
    },
)
FACTS: Final = replace(INVOICE, invoice_id=INVOICE_ID, contact_id="982000000567001")
VOID: Any = command_for(Capability.VOID_INVOICE, {"invoice": FACTS})
NOTE: Any = command_for(
    Capability.CREDIT_NOTE,
    {"invoice": FACTS, "amount": Money(13500, "USD"), "items": (ItemQuantity("DRIVE", 1),)},
)
REFUND: Any = command_for(
    Capability.RECORD_REFUND,
    {"credit_note_id": NOTE_ID, "account_code": "4600000000000358", "amount": Money(45000, "USD")},
)

FILES: Final = {
    "salesorders": "salesorders",
    "salesreturns": "salesreturns",
    "salesreturnreceives": "salesreturns",
    "creditnotes": "credit-notes",
    "invoices": "invoices",
    "organizations": "organizations",
}
#: What works and is not described: query parameters by path, and fields of bodies.
GAPS: Final[Mapping[str, tuple[str, ...]]] = {
    "/salesorders": ("reference_number", "salesorder_number"),
    "/creditnotes": ("rate",),
}


@pytest.fixture
def folder() -> Path:
    return specs("zoho-inventory")


def described(folder: Path, path: str) -> Path:
    return folder / f"{FILES[path.split('/')[1]]}.openapi.json"


def sent_as_described(folder: Path, method: str, path: str, request: Request) -> None:
    names = [name for name, _ in request.params]
    assert names.count("organization_id") == (path != "/organizations")
    gaps = GAPS.get(path, ())
    body = request.json
    if body is not None and "line_items" in body:
        lines = [{n: v for n, v in line.items() if n not in gaps} for line in body["line_items"]]
        body = {**body, "line_items": lines}
    params = tuple((name, value) for name, value in request.params if name not in gaps)
    check_request(described(folder, path), method, path, replace(request, params=params, json=body))


def shown(folder: Path, method: str, path: str, status: int = 200) -> Any:
    """The answer that the description's own examples make."""
    document = load(described(folder, path))
    content = document["paths"][path][method]["responses"][str(status)]["content"]
    return example(document, content["application/json"]["schema"])


def example(document: Any, schema: Any) -> Any:
    if "$ref" in schema:
        return example(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "properties" in schema:
        return {name: example(document, part) for name, part in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example(document, schema["items"])] if schema.get("items") else []
    value = schema.get("example", "" if schema.get("type") == "string" else 0)
    # Ids are texts whose examples are printed as numbers.
    return str(value) if schema.get("type") == "string" else value


def zoho(*bodies: Any) -> tuple[ZohoInventory, FakeHttp]:
    http = FakeHttp(*(body if not isinstance(body, dict) else answer(200, body) for body in bodies))
    return ZohoInventory(http, ORGANIZATION, lambda: date(2026, 11, 25)), http


def order_shown(folder: Path, **changes: Any) -> Any:
    body = shown(folder, "get", "/salesorders/{salesorder_id}")
    return {**body, "salesorder": {**body["salesorder"], **changes}}


def fresh_order(folder: Path, **changes: Any) -> Any:
    """The published order as it was before anything was packed, shipped or invoiced."""
    body = order_shown(folder)
    line = {
        **body["salesorder"]["line_items"][0],
        "quantity_packed": 0,
        "quantity_shipped": 0,
        "quantity_invoiced": 0,
    }
    fresh = {"status": "confirmed", "packages": [], "invoices": [], "line_items": [line]}
    return order_shown(folder, **fresh, **changes)


def returns_shown(folder: Path) -> Any:
    """The list of returns, which the description shows as one object."""
    body = shown(folder, "get", "/salesreturns")
    return {**body, "salesreturns": [body["salesreturns"]]}


def test_the_version_and_the_address_are_the_ones_described(folder: Path) -> None:
    for name in set(FILES.values()):
        document = load(folder / f"{name}.openapi.json")
        assert document["servers"][0]["url"] == SPEC.base_url
        assert document["info"]["version"] == "1.0.0"
    assert SPEC.base_url.endswith(f"/v{SPEC.api_version}")


def test_every_declared_call_is_described(folder: Path) -> None:
    for capability, operation in SPEC.operations.items():
        if capability is Capability.INBOUND:
            continue
        for call in operation.call.split(", "):
            method, path = call.split()
            templates = load(described(folder, path))["paths"]
            known = {
                "/".join("{id}" if part.startswith("{") else part for part in template.split("/")): item
                for template, item in templates.items()
            }
            assert method.lower() in known[path], call


def test_the_gaps_are_gaps_still(folder: Path) -> None:
    for path, names in GAPS.items():
        document = load(described(folder, path))
        item = document["paths"][path]
        parameters = [
            document["components"]["parameters"][p["$ref"].rpartition("/")[2]] if "$ref" in p else p
            for where in (item, item.get("get", {}))
            for p in where.get("parameters", ())
        ]
        assert not {p["name"] for p in parameters} & set(names), path
    create = load(described(folder, "/creditnotes"))["components"]["schemas"]["create-a-credit-note-request"]
    assert "'rate'" not in str(create)


# ---------------------------------------------------------------- orders


def test_the_published_order_is_read_without_what_it_does_not_show(folder: Path) -> None:
    body = order_shown(folder, discount=20)  # the example, "20.00%", is no number as the description wants it
    check_response(described(folder, "/salesorders"), "get", "/salesorders/{salesorder_id}", 200, body)
    assert "salesreturns" not in body["salesorder"]
    assert "sku" not in body["salesorder"]["line_items"][0]
    connector, http = zoho(body)
    facts = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(facts, OrderFacts)
    assert (facts.number, facts.total, facts.email) == (
        "REF-S-00003",
        Money(35000, "USD"),
        "willsmith@bowmanfurniture.com",
    )
    assert (facts.cancels, facts.is_fulfilled) == (TakesBack.PERSON, True)
    assert "shipped" in facts.cancel_refusal
    assert facts.created_at.isoformat() == "2015-05-28T00:00:00+00:00"
    sent_as_described(folder, "get", "/salesorders/{salesorder_id}", http.sent)


def test_a_list_of_orders_is_asked_for_and_read_as_described(folder: Path) -> None:
    listed = shown(folder, "get", "/salesorders")
    check_response(described(folder, "/salesorders"), "get", "/salesorders", 200, listed)
    connector, http = zoho(listed, listed, order_shown(folder))
    facts = connector.read_order(OrderRef(SPEC.platform, number="#REF-S-00003"))
    assert isinstance(facts, OrderFacts)
    assert facts.order_id == ORDER_ID
    sent_as_described(folder, "get", "/salesorders", http.requests[0])
    sent_as_described(folder, "get", "/salesorders", http.requests[1])
    sent_as_described(folder, "get", "/salesorders/{salesorder_id}", http.requests[2])


def test_a_void_is_sent_as_described_and_its_answer_read(folder: Path) -> None:
    said = shown(folder, "post", "/salesorders/{salesorder_id}/status/void")
    check_response(
        described(folder, "/salesorders"), "post", "/salesorders/{salesorder_id}/status/void", 200, said
    )
    connector, http = zoho(fresh_order(folder), said, order_shown(folder, status="void"))
    assert connector.cancel_order(CANCEL) == Done(ORDER_ID)
    sent_as_described(folder, "post", "/salesorders/{salesorder_id}/status/void", http.requests[1])


def test_the_published_order_is_quoted(folder: Path) -> None:
    connector, _ = zoho(fresh_order(folder), fresh_order(folder))
    held = connector.read_order(OrderRef(SPEC.platform, ORDER_ID))
    assert isinstance(held, OrderFacts)
    # 350.00 less 7.00 of shipping, one unit of two.
    assert connector.quote_lines(held, (LineQuantity("4815000000044897", 1),)) == Money(17150, "USD")


# ---------------------------------------------------------------- returns


def test_a_return_is_made_and_received_as_described(folder: Path) -> None:
    made = shown(folder, "post", "/salesreturns", 201)
    made["salesreturn"] |= {"salesorder_id": ORDER_ID, "salesreturn_number": f"RMA-{STEP_KEY}"}
    returned = shown(folder, "get", "/salesreturns/{salesreturn_id}")
    returned["salesreturn"] |= {"salesreturnreceives": [], "receive_status": "", "creditnotes": []}
    returned["salesreturn"]["line_items"][0] |= {"quantity": 4, "non_receive_quantity": 2}
    received = shown(folder, "post", "/salesreturnreceives", 201)
    received["salesreturn"]["line_items"][0]["quantity"] = 2
    for method, path, status, body in (
        ("post", "/salesreturns", 201, made),
        ("get", "/salesreturns/{salesreturn_id}", 200, returned),
        ("post", "/salesreturnreceives", 201, received),
    ):
        check_response(described(folder, path), method, path, status, body)
    listed = returns_shown(folder)
    connector, http = zoho(order_shown(folder), listed, answer(201, made), returned, answer(201, received))
    assert connector.restock(RESTOCK) == Done("4815000000045035")
    sent_as_described(folder, "get", "/salesreturns", http.requests[1])
    sent_as_described(folder, "post", "/salesreturns", http.requests[2])
    sent_as_described(folder, "get", "/salesreturns/{salesreturn_id}", http.requests[3])
    sent_as_described(folder, "post", "/salesreturnreceives", http.requests[4])
    assert dict(http.requests[2].params)["salesorder_id"] == ORDER_ID
    assert dict(http.requests[4].params)["salesreturn_id"] == RETURN_ID


def test_the_published_return_is_found_where_it_is_ours(folder: Path) -> None:
    listed = returns_shown(folder)
    listed["salesreturns"][0]["salesreturn_number"] = f"RMA-{STEP_KEY}"
    returned = shown(folder, "get", "/salesreturns/{salesreturn_id}")
    returned["salesreturn"]["salesreturnreceives"][0]["notes"] = f"refundflow {STEP_KEY}"
    returned["salesreturn"]["salesreturnreceives"][0]["line_items"][0]["quantity"] = 2
    connector, _ = zoho(order_shown(folder), listed, returned)
    assert connector.find_restock(RESTOCK) == Done("4815000000045035")
    # The published one was received by somebody else.
    connector, _ = zoho(order_shown(folder), listed, shown(folder, "get", "/salesreturns/{salesreturn_id}"))
    assert isinstance(connector.find_restock(RESTOCK), AlreadyDone)


# ---------------------------------------------------------------- books


def test_the_published_invoice_is_read_with_its_amounts_as_texts(folder: Path) -> None:
    listed = shown(folder, "get", "/invoices")
    body = shown(folder, "get", "/invoices/{invoice_id}")
    check_response(described(folder, "/invoices"), "get", "/invoices", 200, listed)
    check_response(described(folder, "/invoices"), "get", "/invoices/{invoice_id}", 200, body)
    assert isinstance(body["invoice"]["total"], str)
    connector, http = zoho(listed, body)
    facts = connector.read_invoice("INV-00003")
    assert isinstance(facts, InvoiceFacts)
    assert (facts.state, facts.total, facts.due, facts.paid, facts.credited) == (
        InvoiceState.DRAFT,
        Money(4060, "USD"),
        Money(4060, "USD"),
        Money(2691, "USD"),
        Money(2243, "USD"),
    )
    sent_as_described(folder, "get", "/invoices", http.requests[0])
    sent_as_described(folder, "get", "/invoices/{invoice_id}", http.requests[1])


def test_a_void_of_an_invoice_is_sent_as_described(folder: Path) -> None:
    body = shown(folder, "get", "/invoices/{invoice_id}")
    unpaid = {**body["invoice"], "status": "sent", "payment_made": 0, "credits_applied": 0}
    said = shown(folder, "post", "/invoices/{invoice_id}/status/void")
    connector, http = zoho(
        {**body, "invoice": unpaid}, said, {**body, "invoice": {**unpaid, "status": "void"}}
    )
    assert connector.void_invoice(VOID) == Done(INVOICE_ID)
    sent_as_described(folder, "post", "/invoices/{invoice_id}/status/void", http.requests[1])


@pytest.mark.parametrize("status", ["paid", "sent"])
def test_a_credit_note_is_sent_as_described_and_its_answer_read(folder: Path, status: str) -> None:
    """Of a paid invoice by its units, of another one over the amount alone."""
    body = shown(folder, "get", "/invoices/{invoice_id}")
    invoice = {
        **body["invoice"],
        "status": status,
        "total": "135.00",
        "balance": "0" if status == "paid" else "135.00",
        "payment_made": 135 if status == "paid" else 0,
        "credits_applied": 0,
        "salesorder_id": ORDER_ID,
    }
    held = fresh_order(folder)["salesorder"]
    line = {**held["line_items"][0], "item_id": "982000000030049", "sku": "DRIVE", "tax_percentage": 12.5}
    held |= {"line_items": [line], "invoices": [{"invoice_id": INVOICE_ID, "status": "paid"}]}
    written = shown(folder, "post", "/creditnotes", 201)
    note = {
        **written["creditnote"],
        "status": "open",
        "total": 135,
        "balance": 135,
        "creditnote_number": NOTE.number,
        "reference_number": NOTE.step_key,
    }
    check_response(described(folder, "/creditnotes"), "post", "/creditnotes", 201, written)
    answers = [
        {"code": 0, "creditnotes": [], "page_context": {"has_more_page": False}},
        {**body, "invoice": invoice},
        *([{"code": 0, "salesorder": held}] if status == "paid" else []),
        answer(201, {**written, "creditnote": note}),
    ]
    connector, http = zoho(*answers)
    assert connector.credit_note(NOTE) == Done(NOTE_ID)
    sent_as_described(folder, "get", "/creditnotes", http.requests[0])
    sent_as_described(folder, "post", "/creditnotes", http.requests[-1])
    sent = http.requests[-1].json["line_items"]
    if status == "paid":
        assert [(x["invoice_item_id"], x["is_item_shipped"], x["rate"]) for x in sent] == [
            ("982000000567021", False, 120)
        ]
    else:
        assert [(x["rate"], x["tax_id"]) for x in sent] == [(Decimal("135.00"), "982000000557028")]


def test_a_draft_is_opened_as_described(folder: Path) -> None:
    listed = shown(folder, "get", "/creditnotes")
    listed["creditnotes"][0] |= {"reference_number": NOTE.step_key, "total": 135}
    check_response(described(folder, "/creditnotes"), "get", "/creditnotes", 200, listed)
    note = shown(folder, "get", "/creditnotes/{creditnote_id}")
    note["creditnote"] |= {"status": "open", "total": 135, "reference_number": NOTE.step_key}
    opened = shown(folder, "post", "/creditnotes/{creditnote_id}/converttoopen")
    connector, http = zoho(listed, opened, note)
    assert connector.credit_note(NOTE) == Done(NOTE_ID, "Zoho numbered it CN-29")
    sent_as_described(folder, "post", "/creditnotes/{creditnote_id}/converttoopen", http.requests[1])
    sent_as_described(folder, "get", "/creditnotes/{creditnote_id}", http.requests[2])


def test_a_refund_is_sent_as_described_and_its_answer_read(folder: Path) -> None:
    nothing = {"code": 0, "creditnote_refunds": [], "page_context": {"has_more_page": False}}
    note = shown(folder, "get", "/creditnotes/{creditnote_id}")
    note["creditnote"] |= {"status": "open", "balance": 450}
    said = shown(folder, "post", "/creditnotes/{creditnote_id}/refunds")
    check_response(
        described(folder, "/creditnotes"), "post", "/creditnotes/{creditnote_id}/refunds", 200, said
    )
    connector, http = zoho(nothing, note, said)
    assert connector.record_refund(REFUND) == Done("982000000567158")
    sent_as_described(folder, "get", "/creditnotes/{creditnote_id}/refunds", http.requests[0])
    sent_as_described(folder, "get", "/creditnotes/{creditnote_id}", http.requests[1])
    sent_as_described(folder, "post", "/creditnotes/{creditnote_id}/refunds", http.requests[2])


def test_the_published_list_of_refunds_names_its_amounts_differently(folder: Path) -> None:
    listed = shown(folder, "get", "/creditnotes/{creditnote_id}/refunds")
    check_response(
        described(folder, "/creditnotes"), "get", "/creditnotes/{creditnote_id}/refunds", 200, listed
    )
    assert "amount" not in listed["creditnote_refunds"][0]
    connector, _ = zoho(listed)
    assert isinstance(connector.find_record_refund(REFUND), NotFound)
    listed["creditnote_refunds"][0]["reference_number"] = REFUND.step_key
    connector, _ = zoho(listed)
    assert connector.find_record_refund(replace(REFUND, amount=Money(1000, "USD"))) == Done("982000000567158")
    connector, _ = zoho(listed)
    found = connector.find_record_refund(REFUND)
    assert isinstance(found, Permanent)
    assert found.code == "amount_mismatch"


def test_the_published_organisation_is_checked(folder: Path) -> None:
    body = shown(folder, "get", "/organizations")
    check_response(described(folder, "/organizations"), "get", "/organizations", 200, body)
    connector, http = zoho(body)
    connector = replace(connector, organization_id="10229182")
    assert connector.check().is_ok
    sent_as_described(folder, "get", "/organizations", http.sent)
