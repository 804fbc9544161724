"""The yardstick: five plain Celery tasks in a canvas, with refundflow's vendor calls and nothing else around them.

No rows, no claims, no audit, no look before sending; Celery's defaults (a message is acknowledged before its task runs). The
queries are the connectors' own texts, so that the practice vendors do the same work for both; `tests.bench` compares their
counts of calls and prints them.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import requests
from celery import Celery, Task, chain, chord, group
from celery.canvas import Signature

from refundflow.connectors import shopify, stripe
from refundflow.domain.money import Money
from refundflow.transport.base import Response, parse_json

_BROKER: Final = os.environ.get("BENCH_BROKER", "redis://127.0.0.1:6379/1")
_SANDBOX: Final = os.environ.get("BENCH_SANDBOX", "http://127.0.0.1:8099")
_TIMEOUT_S: Final = 30
#: How long refundflow lets Shopify's cancel job run before it asks for it; the same wait here.
_CANCEL_WAIT_S: Final = 2.0
_MAIL_TEXT: Final = "Your money is on its way. " * 40
_MAIL_HTML: Final = "<p>Your money is on its way.</p>" * 120

app = Celery("bare", broker=_BROKER, backend=_BROKER)
app.conf.task_default_queue = "bare"
app.conf.task_routes = {"bare.refund": {"queue": "bare-money"}}

Record = dict[str, Any]


@cache
def _session(_process: int) -> requests.Session:
    return requests.Session()


def _call(method: str, path: str, **options: Any) -> Any:
    answer = _session(os.getpid()).request(method, f"{_SANDBOX}{path}", timeout=_TIMEOUT_S, **options)
    answer.raise_for_status()
    return answer.json()


def _graphql(document: str, variables: Record) -> Any:
    body = _call(
        "POST",
        f"/shopify/admin/api/{shopify.SPEC.api_version}/graphql.json",
        json={"query": document, "variables": variables},
        headers={"X-Shopify-Access-Token": "shpat_practice"},
    )
    if body.get("errors"):
        raise RuntimeError(str(body["errors"]))
    return body["data"]


def _stripe(method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": "Bearer sk_test_practice", "Stripe-Version": stripe.SPEC.api_version}
    return _call(method, f"/stripe{path}", headers={**headers, **options.pop("headers", {})}, **options)


@cache
def _xero_token(_process: int) -> str:
    answer = _call(
        "POST",
        "/xero/connect/token",
        data={
            "grant_type": "client_credentials",
            "scope": "accounting.invoices accounting.payments accounting.settings.read",
        },
        auth=("practice-xero-client", "practice-xero-secret"),
    )
    return str(answer["access_token"])


def _xero(method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {_xero_token(os.getpid())}", "Accept": "application/json"}
    return _call(
        method, f"/xero/api.xro/2.0{path}", headers={**headers, **options.pop("headers", {})}, **options
    )


@app.task(name="bare.cancel", bind=True, max_retries=None)
def cancel(self: Task[Any, Any], order: Record) -> Record:
    """Reads the facts and cancels; comes back after the wait to see the cancel done. `order`: number, has_calls."""
    if not order["has_calls"]:
        return order
    if "id" not in order:
        number = order["number"]
        found = _graphql(shopify.ORDERS_BY_NAME, {"query": shopify.name_query(number)})
        order_id = found["orders"]["nodes"][0]["id"]
        # The connector's reader, because bare code would have to read the order too.
        raw = _graphql(shopify.ORDER, {"id": order_id})
        page = shopify.read_order(_response({"data": raw}))
        if not isinstance(page, shopify.OrderPage):
            raise TypeError(f"order {number} cannot be read: {page}")
        intent = page.facts.payments[0].provider_reference
        paid = _stripe("GET", f"/v1/payment_intents/{intent}", params={"expand[]": "latest_charge"})
        for what in ("refunds", "disputes"):
            _stripe("GET", f"/v1/{what}", params={"payment_intent": intent, "limit": "100"})
        invoices = _xero(
            "GET", "/Invoices", params={"InvoiceNumbers": f"INV-{number.lstrip('#')}", "page": "1"}
        )
        order = {
            **order,
            "id": order_id,
            "intent": intent,
            "minor": paid["amount"],
            "currency": page.facts.payments[0].amount.currency,
            "email": page.facts.email,
            "invoice": invoices["Invoices"][0],
        }
        _graphql(
            shopify.CANCEL,
            {
                "orderId": order_id,
                "reason": "CUSTOMER",
                "restock": True,
                "notifyCustomer": False,
                "refundMethod": {"originalPaymentMethodsRefund": False},
                "staffNote": f"bare {number}",
            },
        )
        raise self.retry(args=(order,), countdown=_CANCEL_WAIT_S)
    if _graphql(shopify.NOTES, {"id": order["id"]})["order"]["cancelledAt"] is None:
        raise self.retry(countdown=_CANCEL_WAIT_S)
    return order


@app.task(name="bare.restock")
def restock(order: Record) -> Record:
    """Sees that the cancel put the units back, as refundflow does where the order platform restocks."""
    if order["has_calls"]:
        _graphql(shopify.NOTES, {"id": order["id"]})
    return order


@app.task(name="bare.refund")
def refund(order: Record) -> str:
    if not order["has_calls"]:
        return ""
    answer = _stripe(
        "POST",
        "/v1/refunds",
        headers={"Idempotency-Key": f"bare:{order['number']}"},
        data={
            "payment_intent": order["intent"],
            "amount": str(order["minor"]),
            "reason": "requested_by_customer",
            "metadata[bare]": order["number"],
            "metadata[order]": order["number"],
        },
    )
    return str(answer["id"])


@app.task(name="bare.ledger")
def ledger(results: list[Any]) -> Record:
    """The credit note over the whole invoice, and the payment that settles it."""
    order, reference = results
    if not order["has_calls"]:
        return dict(order)
    invoice, today = order["invoice"], datetime.now(UTC).date().isoformat()
    kept = ("Description", "Quantity", "UnitAmount", "AccountCode", "TaxType")
    note = {
        "Type": "ACCRECCREDIT",
        "Status": "AUTHORISED",
        "Contact": {"ContactID": invoice["Contact"]["ContactID"]},
        "Date": today,
        "LineAmountTypes": invoice["LineAmountTypes"],
        "CurrencyCode": order["currency"],
        "CreditNoteNumber": f"CN-bare-{order['number'].lstrip('#')}",
        "Reference": f"bare {order['number']}",
        "LineItems": [{name: line[name] for name in kept} for line in invoice["LineItems"]],
    }
    made = _xero(
        "PUT",
        "/CreditNotes",
        json={"CreditNotes": [note]},
        headers={"Idempotency-Key": f"n{order['number']}"},
    )
    payment = {
        "CreditNote": {"CreditNoteID": made["CreditNotes"][0]["CreditNoteID"]},
        "Account": {"Code": "092"},
        "Date": today,
        # Exact: two decimals of an integer of minor units.
        "Amount": float(Money(order["minor"], order["currency"]).major),
        "Reference": f"bare {order['number']} {reference}",
    }
    _xero(
        "PUT",
        "/Payments",
        json={"Payments": [payment]},
        headers={"Idempotency-Key": f"p{order['number']}"},
    )
    return dict(order)


@app.task(name="bare.notify")
def notify(order: Record) -> str:
    if not order["has_calls"]:
        return ""
    answer = _call(
        "POST",
        "/mailgun/v3/mg.practice.example/messages",
        auth=("api", "practice-mailgun-key"),
        data={
            "from": "Practice Shop <orders@mg.practice.example>",
            "to": order["email"],
            "subject": f"Your refund for order {order['number']}",
            "text": _MAIL_TEXT,
            "html": _MAIL_HTML,
            "h:Message-Id": f"<bare.{order['number'].lstrip('#')}@mg.practice.example>",
            "h:Auto-Submitted": "auto-generated",
            "v:rf_op": f"bare.{order['number']}",
            "o:tag": "refund_sent",
            "o:tracking": "no",
        },
    )
    return str(answer["id"])


def canvas(number: str, *, has_calls: bool) -> Signature[Any]:
    """One case: the shape in which refundflow launches its steps."""
    return chain(
        cancel.s({"number": number, "has_calls": has_calls}),
        chord(group(restock.s(), refund.s()), ledger.s()),
        notify.s(),
    )


def _response(body: Any) -> Response:
    text = json.dumps(body).encode()
    return Response(status=200, headers={}, body=text, json=parse_json(text))
