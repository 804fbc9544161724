"""BigCommerce against its published descriptions: what we send fits them, and so do the answers that our readers are tested on.

v2 answers of one order are described without saying which fields are always there, so the readers' demands are checked
against the names that the description has.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Capability
from refundflow.connectors.bigcommerce import (
    OFFLINE,
    REFUND_CREATED,
    SPEC,
    STATUS_UPDATED,
    TENDERS,
    TRANSACTION_CREATED,
    BigCommerce,
    BigCommerceInbound,
    polled_event,
)
from refundflow.domain.commands import RecordOrderRefund
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef, PaymentFacts
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Done, NotFound, Pending, Permanent, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Request, Response, parse_json
from tests.support.commands import AMOUNT, KEY, STEP_KEY, command_for
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

#: Which file describes which of our operations, with its method and path there.
DESCRIBED: dict[str, tuple[str, str, str]] = {
    "check": ("orders.v2", "get", "/orders"),
    "poll": ("orders.v2", "get", "/orders"),
    "read_order": ("orders.v2", "get", "/orders/{order_id}"),
    "cancel_order": ("orders.v2", "put", "/orders/{order_id}"),
    "list_products": ("orders.v2", "get", "/orders/{order_id}/products"),
    "list_shipping_addresses": ("orders.v2", "get", "/orders/{order_id}/shipping_addresses"),
    "list_fees": ("orders.v2", "get", "/orders/{order_id}/fees"),
    "list_transactions": ("orders.v3", "get", "/orders/{order_id}/transactions"),
    "list_refunds": ("orders.v3", "get", "/orders/{order_id}/payment_actions/refunds"),
    "quote_refund": ("orders.v3", "post", "/orders/{order_id}/payment_actions/refund_quotes"),
    "refund": ("orders.v3", "post", "/orders/{order_id}/payment_actions/refunds"),
    "record_order_refund": ("orders.v3", "post", "/orders/{order_id}/payment_actions/refunds"),
    "void_payment": ("orders.v3", "post", "/orders/{order_id}/payment_actions/void"),
    "claim": ("orders.v3", "post", "/orders/{order_id}/metafields"),
    "list_notes": ("orders.v3", "get", "/orders/{order_id}/metafields"),
    "list_stock": ("inventory.v3", "get", "/inventory/items"),
    "restock": ("inventory.v3", "post", "/inventory/adjustments/relative"),
    "stock_settings": ("settings-inventory.v3", "get", "/settings/inventory"),
}
REFERENCE = "6001:stripe"
ORDER: dict[str, Any] = {
    "id": 6001,
    "status_id": 11,
    "status": "Awaiting Fulfillment",
    "payment_status": "captured",
    "payment_method": "Stripe",
    "payment_provider_id": "ch_1",
    "currency_code": "EUR",
    "default_currency_code": "EUR",
    "total_inc_tax": "42.5000",
    "store_credit_amount": "0.0000",
    "gift_certificate_amount": "0.0000",
    "date_created": "Tue, 24 Nov 2026 09:00:00 +0000",
    "date_modified": "Wed, 25 Nov 2026 08:00:00 +0000",
    "staff_notes": "",
    "items_shipped": 0,
    "is_deleted": False,
    "is_tax_inclusive_pricing": True,
    "channel_id": 1,
    "order_source": "www",
    "customer_locale": "de",
    "billing_address": {
        **dict.fromkeys(("company", "street_2", "phone", "state"), ""),
        "email": "ada@shop.example",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "street_1": "Main Street 1",
        "city": "Springfield",
        "zip": "10115",
        "country": "Germany",
        "country_iso2": "DE",
    },
}
PRODUCT: dict[str, Any] = {
    "id": 501,
    "variant_id": 77,
    "sku": "SKU-1",
    "name": "Kettle",
    "quantity": 1,
    "quantity_shipped": 0,
    "quantity_refunded": 0,
    "total_inc_tax": "32.5000",
    "discounted_total_inc_tax": "32.5000",
    "wrapping_cost_inc_tax": "2.0000",
}
ADDRESS: dict[str, Any] = {
    "id": 40,
    "cost_ex_tax": "8.4034",
    "cost_inc_tax": "10.0000",
    "handling_cost_ex_tax": "0.8400",
    "handling_cost_inc_tax": "1.0000",
}
FEE: dict[str, Any] = {"id": 60, "cost_ex_tax": "0.8400", "cost_inc_tax": "1.0000"}
TRANSACTION: dict[str, Any] = {
    "id": 501,
    "event": "purchase",
    "method": "credit_card",
    "amount": 42.5,
    "currency": "EUR",
    "gateway": "stripe",
    "gateway_transaction_id": "ch_1",
    "status": "ok",
}
REFUND: dict[str, Any] = {
    "id": 21,
    "order_id": 6001,
    "created": "2026-11-25T09:00:00+00:00",
    "total_amount": 42.5,
    "items": [{"item_type": "ORDER", "item_id": 6001, "reason": KEY, "requested_amount": 42.5}],
    "payments": [
        {
            "id": 31,
            "provider_id": "stripe",
            "amount": 42.5,
            "offline": False,
            "is_declined": False,
            "declined_message": "",
            "transaction_id": "601",
        }
    ],
}
QUOTE: dict[str, Any] = {
    "order_id": 6001,
    "total_refund_amount": 42.5,
    "total_refund_tax_amount": 6.79,
    "refund_methods": [
        [
            {
                "provider_id": provider,
                "provider_description": provider,
                "amount": 42.5,
                "offline": provider == "custom",
                "offline_provider": provider == "custom",
                "offline_reason": "It only works offline." if provider == "custom" else "",
            }
        ]
        for provider in ("storecredit", "custom", "stripe")
    ],
}
NOTE: dict[str, Any] = {
    "id": 900,
    "permission_set": "app_only",
    "namespace": "refundflow",
    "key": "RF-1.cancel_order.1:1",
    "value": '{"takes":null,"levels":{"77":{"1":3}}}',
    "date_created": "2026-11-25T08:00:00+00:00",
}
STOCK: dict[str, Any] = {
    "identity": {"sku": "SKU-1", "variant_id": 77, "product_id": 5},
    "locations": [{"location_id": 1, "available_to_sell": 3, "total_inventory_onhand": 3}],
}
SETTINGS: dict[str, Any] = {
    "refund_order_stock_adjustment": False,
    "update_stock_behavior": "order_placed",
}
ANSWERS: dict[str, tuple[int, Any]] = {
    "check": (200, [ORDER]),
    "poll": (200, [{**ORDER, "status_id": 5}]),
    "read_order": (200, ORDER),
    "cancel_order": (200, {**ORDER, "status_id": 5}),
    "list_products": (200, [PRODUCT]),
    "list_shipping_addresses": (200, [ADDRESS]),
    "list_fees": (200, FEE),
    "list_transactions": (200, {"data": [TRANSACTION], "meta": {}}),
    "list_refunds": (200, {"data": [], "meta": {}}),
    "quote_refund": (201, {"data": QUOTE, "meta": {}}),
    "refund": (201, {"data": REFUND, "meta": {}}),
    "record_order_refund": (
        201,
        {
            "data": {
                **REFUND,
                "payments": [{**REFUND["payments"][0], "provider_id": "custom", "offline": True}],
            },
            "meta": {},
        },
    ),
    "void_payment": (201, {}),
    "claim": (200, {"data": NOTE, "meta": {}}),
    "list_notes": (200, {"data": [NOTE], "meta": {}}),
    "list_stock": (200, {"data": [STOCK], "meta": {}}),
    "restock": (200, {"transaction_id": "a4b1"}),
    "stock_settings": (200, {"data": SETTINGS, "meta": {}}),
}


@pytest.fixture
def folder() -> Path:
    return specs("bigcommerce")


class Described:
    """A store whose every answer, and every call to it, is held against the description."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.answers: dict[str, Any] = {**ANSWERS, **changes}
        self.seen: list[str] = []
        self.http = FakeHttp(always=self._play)
        self.shop = BigCommerce(self.http)

    def _play(self, request: Request) -> Response:
        name = request.operation.removeprefix("bigcommerce.")
        file, method, path = DESCRIBED[name]
        described = self.folder / f"{file}.openapi.json"
        check_request(described, method, path, as_described(request))
        self._check_amounts(described, request)
        told = self.answers[name]
        status, body = told.pop(0) if isinstance(told, list) else told
        if status != 204:
            check_response(described, method, path, status, body, declared_only=True)
        self.seen.append(name)
        return answer(status, "" if status == 204 else body)

    def _check_amounts(self, described: Path, request: Request) -> None:
        for item in (request.json or {}).get("items", ()):
            if (name := BY_AMOUNT.get(item.get("item_type", ""))) is not None:
                check_document(described, item, f"/components/schemas/{name}")


#: Items that the description lets fit two of its alternatives, of which exactly one must: they are checked by their own.
BY_AMOUNT = {"ORDER": "TaxExemptItem", "FEE": "FeeItem"}


def as_described(request: Request) -> Request:
    """The versions are part of the described servers' addresses; the direction of `sort` is described in words only, beside a
    list of bare names.
    """
    path = request.path.removeprefix("/v2").removeprefix("/v3")
    params = [(n, v.removesuffix(":asc") if n == "sort" else v) for n, v in request.params]
    body = request.json
    if path.endswith(("/refunds", "/refund_quotes")) and body is not None:
        body = {**body, "items": [i for i in body["items"] if i["item_type"] not in BY_AMOUNT]}
    return replace(request, path=path, params=params, json=body)


CANCEL: Any = command_for(Capability.CANCEL_ORDER, {"restock": False})
RESTOCK: Any = command_for(Capability.RESTOCK, {"location": ""})
REFUND_ALL: Any = command_for(
    Capability.REFUND,
    {"payment_reference": REFERENCE, "lines": (LineQuantity("501", 1),), "is_whole": True},
)
REFUND_LUMP: Any = command_for(Capability.REFUND, {"payment_reference": REFERENCE})
VOID: Any = command_for(Capability.VOID_PAYMENT, {"payment_reference": REFERENCE})
RECORD = RecordOrderRefund(
    step_key=STEP_KEY,
    key=KEY,
    order_id="6001",
    order_number="6001",
    amount=AMOUNT,
    refund_references="re_1",
)


def test_every_declared_call_is_described(folder: Path) -> None:
    paths = {
        version: load(folder / f"{file}.openapi.json")["paths"]
        for version, file in (("v2", "orders.v2"), ("v3", "orders.v3"), ("stock", "inventory.v3"))
    }
    for capability, operation in SPEC.operations.items():
        if capability is Capability.INBOUND:
            continue
        method, path = operation.call.split()
        _, version, rest = path.split("/", 2)
        described = paths["stock"] if rest.startswith("inventory") else paths[version]
        assert method.lower() in described[f"/{rest}"], operation.call


def test_an_order_is_read_as_described(folder: Path) -> None:
    store = Described(folder)
    facts = store.shop.read_order(OrderRef("bigcommerce", "6001"))
    assert isinstance(facts, OrderFacts)
    assert (facts.total, facts.payments[0].transaction_id, facts.lines[0].sku) == (AMOUNT, REFERENCE, "SKU-1")
    assert store.seen == [
        *("read_order", "list_products", "list_transactions"),
        *("stock_settings", "stock_settings"),
    ]


def test_an_order_with_nothing_below_it_is_read_as_described(folder: Path) -> None:
    store = Described(folder, list_transactions=(204, None))
    assert isinstance(store.shop.read_order(OrderRef("bigcommerce", "6001")), OrderFacts)


def test_a_payment_is_read_as_described(folder: Path) -> None:
    store = Described(folder, list_refunds=(200, {"data": [REFUND], "meta": {}}))
    facts = store.shop.read_payment("6001", REFERENCE)
    assert isinstance(facts, PaymentFacts)
    assert [(r.reference, r.step_key) for r in facts.refunds] == [("21", STEP_KEY)]


def test_units_are_quoted_as_described(folder: Path) -> None:
    store = Described(folder)
    facts = store.shop.read_order(OrderRef("bigcommerce", "6001"))
    assert isinstance(facts, OrderFacts)
    assert store.shop.quote_lines(facts, (LineQuantity("501", 1),)) == AMOUNT


def test_a_cancel_is_sent_and_read_as_described(folder: Path) -> None:
    store = Described(folder)
    assert store.shop.cancel_order(CANCEL) == Done("6001")
    assert store.seen == ["read_order", "list_products", "list_stock", "claim", "cancel_order"]
    assert isinstance(store.shop.find_cancel_order(CANCEL), NotFound)


def test_a_restock_is_sent_and_read_as_described(folder: Path) -> None:
    store = Described(folder, list_notes=(200, {"data": [], "meta": {}}))
    assert store.shop.restock(RESTOCK) == Done("a4b1")
    assert store.seen[-2:] == ["claim", "restock"]
    on = Described(
        folder,
        read_order=(200, {**ORDER, "status_id": 5}),
        stock_settings=(200, {"data": {**SETTINGS, "refund_order_stock_adjustment": True}, "meta": {}}),
    )
    on.shop.restock(RESTOCK)
    assert {"list_refunds", "list_transactions"} <= set(on.seen)
    assert isinstance(Described(folder).shop.find_restock(RESTOCK), NotFound)


@pytest.mark.parametrize("command", [REFUND_ALL, REFUND_LUMP], ids=["whole", "lump"])
def test_a_refund_is_sent_and_read_as_described(folder: Path, command: Any) -> None:
    store = Described(folder)
    assert store.shop.refund(command) == Pending("21", 5.0)
    assert store.seen[-2:] == ["quote_refund", "refund"]
    items = store.http.requests[-1].json["items"]
    kinds = {"PRODUCT", "GIFT_WRAPPING", "SHIPPING", "HANDLING", "FEE"} if command.is_whole else {"ORDER"}
    assert {item["item_type"] for item in items} == kinds


def test_a_forced_share_is_sent_as_described(folder: Path) -> None:
    """Two quotes, of the units and of the share alone; only the refund itself may carry a forced sum."""
    methods = [[{**way[0], "amount": 20}] for way in QUOTE["refund_methods"]]
    lesser = {**QUOTE, "total_refund_amount": 20, "refund_methods": methods}
    store = Described(folder, quote_refund=[(201, {"data": QUOTE}), (201, {"data": lesser})])
    part = replace(REFUND_ALL, amount=Money(2000, "EUR"), is_whole=False, takes_out=True)
    said = store.shop.refund(part)
    assert isinstance(said, Permanent), "the described answer is over the whole amount"
    assert (said.code, store.seen[-3:]) == ("amount_mismatch", ["quote_refund", "quote_refund", "refund"])
    assert "merchant_calculated_override" in store.http.requests[-1].json


def test_a_record_is_sent_and_read_as_described(folder: Path) -> None:
    store = Described(folder)
    assert isinstance(store.shop.record_order_refund(RECORD), Done)
    assert isinstance(store.shop.find_record_order_refund(RECORD), NotFound)
    assert store.http.requests[-3].json["payments"][0]["offline"] is True


def test_a_release_is_sent_and_read_as_described(folder: Path) -> None:
    held = {**ORDER, "payment_status": "authorized"}
    assert isinstance(Described(folder, read_order=(200, held)).shop.void_payment(VOID), Pending)
    gone = Described(
        folder,
        read_order=(200, {**ORDER, "payment_status": "void"}),
        list_transactions=(200, {"data": [{**TRANSACTION, "event": "void"}], "meta": {}}),
    )
    assert isinstance(gone.shop.find_void_payment(VOID), Done)


def test_checking_and_polling_are_sent_and_read_as_described(folder: Path) -> None:
    store = Described(folder)
    assert store.shop.check().is_ok
    polled = store.shop.poll("", datetime(2026, 11, 25, 9, 0, tzinfo=UTC))
    assert [e.source_event_id for e in getattr(polled, "events", ())] == ["poll:6001:5"]


@pytest.mark.parametrize(
    ("_case", "name", "status", "body"),
    [
        ("a refusal of the refund", "refund", 422, {"data": [{"status": 422, "title": "no", "errors": {}}]}),
        (
            "a tax service that is gone",
            "refund",
            503,
            {"data": [{"order_id": 6001, "status": 503, "error": "Tax service gone away"}], "meta": {}},
        ),
        ("a refusal of the quote", "quote_refund", 422, {"status": 422, "title": "no", "errors": {}}),
        ("a claim that is taken", "claim", 409, {"status": 409, "title": "taken", "errors": {}}),
        ("a claim that is not valid", "claim", 422, {"status": 422, "title": "no", "errors": {}}),
    ],
)
def test_described_refusals_are_never_a_yes(
    folder: Path, _case: str, name: str, status: int, body: Any
) -> None:
    store = Described(folder, **{name: (status, body)})
    said = store.shop.refund(REFUND_LUMP)
    if status == 409:
        assert isinstance(said, Pending), "no claim of ours is shown, so the flow has waited"
    else:
        assert isinstance(said, Permanent if status == 422 else Unknown)


def test_our_names_of_providers_and_events_are_published(folder: Path) -> None:
    schema = load(folder / "orders.v3.openapi.json")["components"]["schemas"]["Transaction"]["allOf"][0]
    gateways = set(schema["properties"]["gateway"]["enum"])
    assert gateways >= OFFLINE | set(TENDERS)
    events = set(schema["properties"]["event"]["enum"])
    assert events == {"purchase", "authorization", "capture", "refund", "void", "pending", "settled"}


def test_the_statuses_of_a_payment_that_we_tell_apart_are_published(folder: Path) -> None:
    order = load(folder / "orders.v2.openapi.json")["components"]["schemas"]["order_RespOnly"]
    statuses = set(order["properties"]["payment_status"]["enum"])
    ours = {"authorized", "capture pending", "captured", "declined", "held for review", "paid"}
    assert ours | {"partially refunded", "pending", "refunded", "void", "void pending", ""} == statuses


class TestEvents:
    INBOUND = BigCommerceInbound(Secret("bc-client-secret-0001"), Secret(""))

    @pytest.mark.parametrize(
        ("topic", "data", "family"),
        [
            (
                STATUS_UPDATED,
                {"id": 6001, "status": {"previous_status_id": 11, "new_status_id": 5}},
                OrderCancelledElsewhere,
            ),
            (
                STATUS_UPDATED,
                {"id": 6001, "status": {"previous_status_id": 11, "new_status_id": 13}},
                DisputeSeen,
            ),
            (
                STATUS_UPDATED,
                {"id": 6001, "status": {"previous_status_id": 11, "new_status_id": 2}},
                Irrelevant,
            ),
            (REFUND_CREATED, {"id": 6001, "refund": {"refund_id": 21}}, PaymentRefundsChanged),
            (
                TRANSACTION_CREATED,
                {"order_id": "6001", "transaction_id": "601", "transaction_type": "refund"},
                PaymentRefundsChanged,
            ),
            ("store/order/updated", {"id": 6001}, Irrelevant),
            ("store/order/archived", {"id": 6001}, Irrelevant),
        ],
    )
    def test_described_events_are_read(
        self, folder: Path, topic: str, data: dict[str, Any], family: type
    ) -> None:
        event = {
            "store_id": "11111",
            "producer": "stores/abcde",
            "scope": topic,
            "data": {"type": "order", **data},
            "hash": "3f9e",
            "created_at": 1795343400,
        }
        name = "callback_" + topic.replace("/", "_")
        check_document(folder / "webhooks.v3.openapi.json", event, f"/components/schemas/{name}")
        assert isinstance(self._read(topic, event), family)

    def _read(self, topic: str, event: dict[str, Any]) -> Reading:
        return self.INBOUND.read_event(topic, answer(200, event).body)

    @pytest.mark.parametrize("status_id", [4, 5, 13, 14])
    def test_what_polling_makes_up_is_described_too(self, folder: Path, status_id: int) -> None:
        event = polled_event(6001, status_id)
        assert event is not None
        name = "callback_" + event.topic.replace("/", "_")
        check_document(
            folder / "webhooks.v3.openapi.json", parse_json(event.body), f"/components/schemas/{name}"
        )

    def test_the_vectors_verify_or_fail_as_computed(self, folder: Path) -> None:
        """Computed by us with the reference package, since the vendor publishes none."""
        vectors = load(folder / "webhook_signature_vectors.json")["vectors"]
        assert {vector["valid"] for vector in vectors} == {True, False}
        for vector in vectors:
            inbound = BigCommerceInbound(Secret(vector["client_secret"]), Secret(""), "abcde")
            names = ("webhook-id", "webhook-timestamp", "webhook-signature")
            delivery = Delivery({n: vector[n] for n in names}, vector["body"].encode())
            said = inbound.verify(delivery, datetime.fromtimestamp(vector["valid_at"], UTC))
            expected = Verified(
                f"3f9ea420af83450d7ef9f78b08c8af25b2213637:{STATUS_UPDATED}:173331", STATUS_UPDATED
            )
            assert said == expected if vector["valid"] else isinstance(said, Refused)
