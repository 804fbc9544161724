"""Etsy against its published description: what we send, and the answers that our readers are tested on.

Etsy describes neither the token call nor its webhooks for programs; both are written by hand from its pages.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Polled
from refundflow.connectors.etsy import (
    CANCELLED,
    REFUSALS,
    SPEC,
    Credentials,
    Cursor,
    Etsy,
    EtsyInbound,
    Stretch,
    Turn,
    cancel_event,
    read_failure,
    token_request,
    write_cursor,
)
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef, PaymentFacts, RefundStatus
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import NotFound
from refundflow.settings import Secret
from refundflow.transport.base import Response
from refundflow.transport.tokens import read_oauth
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

SHOP = "123456"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
ROOT = "/v3/application/shops/{shop_id}"
RECEIPTS, RECEIPT = f"{ROOT}/receipts", f"{ROOT}/receipts/{{receipt_id}}"
RECEIPT_PAYMENTS, PAYMENTS = f"{RECEIPT}/payments", f"{ROOT}/payments"
LEDGER = f"{ROOT}/payment-account/ledger-entries"
LEDGER_PAYMENTS = f"{LEDGER}/payments"
USED = (RECEIPTS, RECEIPT, RECEIPT_PAYMENTS, PAYMENTS, LEDGER, LEDGER_PAYMENTS)


def usd(minor: int) -> dict[str, Any]:
    return {"amount": minor, "divisor": 100, "currency_code": "USD"}


TIMES = {
    "create_timestamp": NOW_S - 7200,
    "created_timestamp": NOW_S - 7200,
    "update_timestamp": NOW_S - 3600,
    "updated_timestamp": NOW_S - 3600,
}
SHOWN: dict[str, Any] = {
    "receipt_id": 2001,
    "receipt_type": 0,
    "status": "partially refunded",
    "is_paid": True,
    "is_shipped": False,
    **TIMES,
    "name": "Ada Lovelace",
    "buyer_email": None,
    "payment_method": "cc",
    "grandtotal": usd(3500),
    "subtotal": usd(3000),
    "total_price": usd(3000),
    "total_shipping_cost": usd(500),
    "total_tax_cost": usd(0),
    "total_vat_cost": usd(0),
    "discount_amt": usd(0),
    "gift_wrap_price": usd(0),
    "transactions": [
        {
            "transaction_id": 11,
            "title": "Mug",
            "quantity": 2,
            "listing_id": 77,
            "product_id": 88,
            "sku": None,
            "price": usd(1500),
            "shipped_timestamp": None,
        }
    ],
    "refunds": [
        {
            "amount": usd(1500),
            "created_timestamp": NOW_S - 3600,
            "reason": "other",
            "note_from_issuer": None,
            "status": "REFUNDED",
        }
    ],
}
ADJUSTMENT: dict[str, Any] = {
    "payment_adjustment_id": 91,
    "payment_id": 501,
    "status": "REFUNDED",
    "is_success": True,
    "user_id": 1,
    "reason_code": "OTHER",
    "total_adjustment_amount": 1500,
    "shop_total_adjustment_amount": 1500,
    "buyer_total_adjustment_amount": 1500,
    "total_fee_adjustment_amount": 45,
    **TIMES,
    "payment_adjustment_items": [
        {
            "payment_adjustment_id": 91,
            "payment_adjustment_item_id": 910,
            "adjustment_type": "ITEM",
            "amount": 1500,
            "shop_amount": 1500,
            "transaction_id": 11,
            "bill_payment_id": None,
        }
    ],
}
PAID: dict[str, Any] = {
    "payment_id": 501,
    "shop_id": 123456,
    "receipt_id": 2001,
    "amount_gross": usd(3500),
    "amount_fees": usd(130),
    "amount_net": usd(3370),
    "adjusted_gross": usd(2000),
    "adjusted_fees": usd(85),
    "adjusted_net": usd(1915),
    "currency": "USD",
    "shop_currency": "USD",
    "buyer_currency": "USD",
    "status": "settled",
    **TIMES,
    "payment_adjustments": [ADJUSTMENT],
}
ENTRY: dict[str, Any] = {
    "entry_id": 7,
    "ledger_id": 1,
    "sequence_number": 42,
    "amount": -1500,
    "currency": "USD",
    "description": "REFUND_GROSS",
    "balance": 100,
    "create_date": NOW_S - 3600,
    "created_timestamp": NOW_S - 3600,
    "ledger_type": "REFUND_GROSS",
    "reference_type": "payment_adjustment",
    "reference_id": "91",
    "payment_adjustments": [ADJUSTMENT],
}


def spec() -> Path:
    return specs("etsy") / "etsy-v3.openapi.json"


def shown(path: str, json_body: Any) -> Response:
    """An answer that the description allows, each member of it described."""
    check_response(spec(), "GET", path, 200, json_body, declared_only=True)
    return answer(200, json_body)


def listed(path: str, *rows: dict[str, Any]) -> Response:
    return shown(path, {"count": len(rows), "results": list(rows)})


def check_sent(http: FakeHttp, *paths: str) -> None:
    assert len(http.requests) == len(paths)
    for request, path in zip(http.requests, paths, strict=True):
        check_request(spec(), "GET", path, request)


def test_the_description_is_of_the_version_that_is_pinned() -> None:
    described = load(spec())
    assert described["info"]["version"].startswith("3.")
    assert SPEC.api_version == "v3"
    assert described["servers"][0]["url"] == SPEC.base_url
    flow = described["components"]["securitySchemes"]["oauth2"]["flows"]["authorizationCode"]
    assert flow["tokenUrl"] == Credentials("k", Secret("s"), Secret("r"), "1").token_url
    assert "keystring:shared_secret" in described["components"]["securitySchemes"]["api_key"]["description"]


def test_what_is_read_needs_one_scope() -> None:
    paths = load(spec())["paths"]
    for path in USED:
        assert {"api_key": [], "oauth2": ["transactions_r"]} in paths[path]["get"]["security"], path


def test_nothing_in_the_description_cancels_an_order_or_returns_money() -> None:
    """The day it does, this connector has more to do."""
    writes = {
        (method, path)
        for path, methods in load(spec())["paths"].items()
        for method in methods
        if method in ("post", "put", "patch", "delete")
    }
    assert writes == {
        ("put", RECEIPT),
        ("put", "/v3/application/listings/{listing_id}/inventory"),
        ("post", "/v3/application/scopes"),
    }
    body = load(spec())["paths"][RECEIPT]["put"]["requestBody"]["content"]
    fields = {name for kind in body.values() for name in kind["schema"]["properties"]}
    assert fields == {"was_shipped", "was_paid"}


def test_an_order_is_asked_for_and_read_as_described() -> None:
    http = FakeHttp(shown(RECEIPT, SHOWN), listed(RECEIPT_PAYMENTS, PAID))
    found = Etsy(http, SHOP).read_order(OrderRef("etsy", "2001"))
    check_sent(http, RECEIPT, RECEIPT_PAYMENTS)
    assert isinstance(found, OrderFacts)
    assert found.total == Money(3500, "USD")
    assert [(x.line_id, x.sku, x.quantity) for x in found.lines] == [("11", "77-88", 2)]
    assert [p.transaction_id for p in found.payments] == ["501"]


def test_every_described_status_is_known() -> None:
    statuses = load(spec())["components"]["schemas"]["ShopReceipt"]["properties"]["status"]["enum"]
    assert {"canceled", "fully refunded"} == set(statuses) & set(CANCELLED)
    for status in statuses:
        http = FakeHttp(shown(RECEIPT, {**SHOWN, "status": status}), listed(RECEIPT_PAYMENTS, PAID))
        found = Etsy(http, SHOP).read_order(OrderRef("etsy", "2001"))
        assert isinstance(found, OrderFacts)
        assert (found.cancelled_at is not None) is (status in ("canceled", "fully refunded"))


def test_lines_are_priced_from_what_is_described() -> None:
    http = FakeHttp(shown(RECEIPT, SHOWN), listed(RECEIPT_PAYMENTS, PAID), shown(RECEIPT, SHOWN))
    etsy = Etsy(http, SHOP)
    order = etsy.read_order(OrderRef("etsy", "2001"))
    assert isinstance(order, OrderFacts)
    assert etsy.quote_lines(order, (LineQuantity("11", 1),)) == Money(1500, "USD")
    check_sent(http, RECEIPT, RECEIPT_PAYMENTS, RECEIPT)


@pytest.mark.parametrize(("order_id", "path"), [("2001", RECEIPT_PAYMENTS), ("", PAYMENTS)])
def test_a_payment_is_asked_for_and_read_as_described(order_id: str, path: str) -> None:
    http = FakeHttp(listed(path, PAID), shown(RECEIPT, SHOWN))
    found = Etsy(http, SHOP, lambda: NOW).read_payment(order_id, "501")
    check_sent(http, path, RECEIPT)
    assert isinstance(found, PaymentFacts)
    assert [(r.reference, r.amount, r.status) for r in found.refunds] == [
        ("91", Money(1500, "USD"), RefundStatus.SUCCEEDED)
    ]


def test_the_check_asks_as_described() -> None:
    http = FakeHttp(listed(RECEIPTS, SHOWN))
    assert Etsy(http, SHOP).check().is_ok
    check_sent(http, RECEIPTS)


@pytest.mark.parametrize(
    ("turn", "pages"),
    [
        (Turn.CANCELS, [(RECEIPTS, {**SHOWN, "status": "canceled"})]),
        (Turn.LEDGER, [(LEDGER, ENTRY), (PAYMENTS, PAID)]),
        (Turn.LEDGER, [(LEDGER, {**ENTRY, "payment_adjustments": []}), (LEDGER_PAYMENTS, PAID)]),
        (Turn.ORDERS, [(RECEIPTS, SHOWN)]),
    ],
)
def test_every_list_is_asked_for_and_read_as_described(
    turn: Turn, pages: list[tuple[str, dict[str, Any]]]
) -> None:
    past = Stretch(NOW_S - 300)
    at = Cursor(NOW_S - 86_400, past, Stretch(NOW_S - 1800), Stretch(NOW_S - 86_400), turn)
    http = FakeHttp(*[listed(path, row) for path, row in pages])
    found = Etsy(http, SHOP).poll(write_cursor(at), NOW)
    assert isinstance(found, Polled)
    check_sent(http, *[path for path, _ in pages])
    expected = {Turn.CANCELS: ["order.canceled"], Turn.LEDGER: ["refund"], Turn.ORDERS: []}[turn]
    assert [event.topic for event in found.events] == expected


def test_a_window_of_the_ledger_names_both_ends_as_the_description_demands() -> None:
    parameters = load(spec())["paths"][LEDGER]["get"]["parameters"]
    assert {p["name"] for p in parameters if p["in"] == "query" and p.get("required")} == {
        "min_created",
        "max_created",
    }


def test_every_described_error_is_read() -> None:
    described = {int(s) for path in USED for s in load(spec())["paths"][path]["get"]["responses"]} - {200}
    assert described <= set(REFUSALS)
    error = {"error": "Could not find a Shop Receipt with receipt_id = 2001"}
    for status in (400, 401, 403, 404, 500):
        check_response(spec(), "GET", RECEIPT, status, error, declared_only=True)
    assert read_failure(answer(404, error)) == NotFound(0.0, error["error"])


# ---------------------------------------------------------------- token and events


def test_a_refresh_is_what_the_schema_allows_and_its_answer_is_read() -> None:
    path = specs("etsy") / "oauth-token.schema.json"
    credentials = Credentials("keystring", Secret("shared"), Secret("1.old"), SHOP)
    check_document(path, dict(token_request(credentials, "1.old").form or ()), "/$defs/refreshRequest")
    given = {"access_token": "1.a", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "1.new"}
    check_document(path, given)
    token = read_oauth(answer(200, given))
    assert token is not None
    assert (token.value, token.life_s, token.refresh_token) == ("1.a", 3600.0, "1.new")
    refused = {"error": "invalid_grant", "error_description": "refresh_token is revoked"}
    check_document(path, refused, "/$defs/error")
    assert read_oauth(answer(400, refused)) is None


def test_every_described_event_is_read_and_what_polling_makes_is_one_of_them() -> None:
    path = specs("etsy") / "webhook.order.schema.json"
    inbound = EtsyInbound(Secret(), SHOP)
    polled = cancel_event(SHOP, "2001")
    check_document(path, json.loads(polled.body))
    for topic in load(path)["properties"]["event_type"]["enum"]:
        event = {**json.loads(polled.body), "event_type": topic}
        check_document(path, event)
        reading = inbound.read_event(topic, json.dumps(event).encode())
        if topic == "order.canceled":
            assert reading == OrderCancelledElsewhere(OrderRef("etsy", "2001"))
        else:
            assert isinstance(reading, Irrelevant)
    assert not isinstance(inbound.read_event(polled.topic, polled.body), PaymentRefundsChanged)


def test_every_vector_is_judged_as_it_says() -> None:
    vectors = load(specs("etsy") / "webhook_signature_vectors.json")["vectors"]
    assert {vector["valid"] for vector in vectors} == {True, False}
    for vector in vectors:
        headers = {name: vector[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
        said = EtsyInbound(Secret(vector["secret"]), "123456").verify(
            Delivery(headers, vector["body"].encode()), datetime.fromtimestamp(vector["valid_at"], UTC)
        )
        assert isinstance(said, Verified if vector["valid"] else Refused), vector
