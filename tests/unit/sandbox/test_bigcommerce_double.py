"""The practice BigCommerce is as strict as the real one, and its book holds exactly what happened."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from refundflow.sandbox.base import (
    Answer,
    Call,
    Cut,
    Event,
    Fault,
    Kind,
    NoSuchObjectError,
    Subscription,
    World,
)
from refundflow.sandbox.bigcommerce import CLIENT_SECRET, HOOK_HEADERS, STORE_HASH, TOKEN, BigCommerce
from tests.support.specs import check_document, check_response, load, specs

HEADERS = {"x-auth-token": TOKEN, "accept": "application/json", "content-type": "application/json"}
REFERENCE = "refundflow op_01J9"


class Store:
    """A practice store with order 1001 (two posters, a frame and shipping, 52.50 EUR, paid with Stripe), and a clock."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.world = World([BigCommerce], clock=lambda: self.now, send=self.take)
        self.vendor: BigCommerce = self.world.vendors["bigcommerce"]  # type: ignore[assignment]  # the only one here
        self.order = self.seed(
            id=1001,
            email="jane@example.com",
            lines=[
                {"id": 8, "sku": "POSTER", "title": "Poster", "quantity": 2, "unit_minor": 1500, "stock": 3},
                {"id": 9, "sku": "FRAME", "unit_minor": 1250, "stock": 0},
            ],
            shipping_minor=1000,
            payments=[{"gateway": "stripe", "transaction_id": "ch_1"}],
        )

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((dict(headers), body))
        return 200

    def seed(self, **order: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.world.seed({"bigcommerce": {"orders": [order]}})["bigcommerce"]
        return dict(made["orders"][0])

    def set(self, **settings: Any) -> None:
        self.world.seed({"bigcommerce": settings})

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer | Cut:
        path, _, query = path.partition("?")
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
        full = path if path.startswith("/stores/") else f"/stores/{STORE_HASH}{path}"
        return self.world.receive("bigcommerce", Call(method, full, query, sent, raw))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the body as it comes over the wire (None: no body)."""
        answer = self.call(method, path, body, **headers)
        assert isinstance(answer, Answer)
        return answer.status, json.loads(answer.payload) if answer.payload else None

    def get(self, path: str, **query: Any) -> Any:
        status, found = self.ask("GET", f"{path}?{urlencode(query)}" if query else path)
        assert status == 200, found
        return found

    def put(self, body: Any, order: int = 1001) -> tuple[int, Any]:
        return self.ask("PUT", f"/v2/orders/{order}", body)

    def quote(self, *items: dict[str, Any], order: int = 1001, **more: Any) -> tuple[int, Any]:
        return self.ask(
            "POST", f"/v3/orders/{order}/payment_actions/refund_quotes", {"items": [*items], **more}
        )

    def refund(
        self, items: list[dict[str, Any]], payments: list[dict[str, Any]], order: int = 1001, **more: Any
    ) -> tuple[int, Any]:
        body = {"items": items, "payments": payments, **more}
        return self.ask("POST", f"/v3/orders/{order}/payment_actions/refunds", body)

    def pay_back(self, amount: float, order: int = 1001, **payment: Any) -> tuple[int, Any]:
        """A lump sum of the order, back through its gateway."""
        item = {"item_type": "ORDER", "item_id": order, "amount": amount, "reason": REFERENCE}
        return self.refund([item], [{"provider_id": "stripe", "amount": amount, **payment}], order)

    def refunds(self, order: int = 1001) -> list[Any]:
        return list(self.get(f"/v3/orders/{order}/payment_actions/refunds")["data"])

    def fault(self, kind: Kind, operation: str = "*", **more: Any) -> None:
        self.world.faults.add(Fault(kind, vendor="bigcommerce", operation=operation, **more))

    def book(self, *effects: str) -> list[tuple[str, int | None]]:
        lines = self.vendor.book.lines()
        return [(x["effect"], x["amount_minor"]) for x in lines if not effects or x["effect"] in effects]

    def restocked(self) -> list[tuple[str, int]]:
        return [(line["sku"], line["quantity"]) for line in self.vendor.book.lines("restock")]

    def stock(self, sku: str) -> int:
        found = self.get("/v3/inventory/locations/1/items", **{"sku:in": sku})["data"]
        return int(found[0]["total_inventory_onhand"])

    def status(self, order: int = 1001) -> tuple[int, str]:
        found = self.get(f"/v2/orders/{order}")
        return found["status_id"], found["payment_status"]

    def adjust(self, *items: dict[str, Any], reason: str = REFERENCE) -> tuple[int, Any]:
        return self.ask("POST", "/v3/inventory/adjustments/relative", {"reason": reason, "items": [*items]})

    def claim(self, key: str = "op_01J9", **headers: str) -> tuple[int, Any]:
        body = {"permission_set": "app_only", "namespace": "refundflow", "key": key, "value": "started"}
        return self.ask("POST", "/v3/orders/1001/metafields", body, **headers)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.world.close()


def everything(store: Store, reason: str = REFERENCE) -> list[dict[str, Any]]:
    """Items that refund all of order 1001."""
    return [
        {"item_type": "PRODUCT", "item_id": 8, "quantity": 2, "reason": reason},
        {"item_type": "PRODUCT", "item_id": 9, "quantity": 1, "reason": reason},
        {"item_type": "SHIPPING", "item_id": store.order["address_id"], "amount": 10.00, "reason": reason},
    ]


# ---------------------------------------------------------------- cancelling


def test_an_order_is_cancelled_by_status_id_and_its_note_is_the_reference(store: Store) -> None:
    status, order = store.put({"status_id": 5, "staff_notes": REFERENCE})

    assert (status, order["status_id"], order["status"], order["staff_notes"]) == (
        200,
        5,
        "Cancelled",
        REFERENCE,
    )
    assert [
        (x["id"], x["target"], x["reference"], x["by"]) for x in store.vendor.book.lines("cancel_order")
    ] == [("1001", {"order": "1001", "number": "1001"}, REFERENCE, "api")]
    assert store.book("refund", "void") == []


def test_cancelling_again_changes_nothing_more(store: Store) -> None:
    store.put({"status_id": 5})
    assert store.put({"status_id": 5})[0] == 200
    assert store.book("cancel_order") == [("cancel_order", None)]
    assert store.restocked() == [("POSTER", 2), ("FRAME", 1)]


def test_the_text_status_is_ignored_and_cancels_nothing(store: Store) -> None:
    status, order = store.put({"status": "Cancelled"})
    assert (status, order["status_id"], store.book()) == (200, 11, [])


def test_the_text_status_can_be_practised_as_an_error(store: Store) -> None:
    store.set(habits={"is_status_text_refused": True})
    status, errors = store.put({"status": "Cancelled", "status_id": 5})
    assert (status, errors[0]["status"], store.book()) == (400, 400, [])


@pytest.mark.parametrize(
    ("_case", "body"),
    [
        ("a text", {"status_id": "5"}),
        ("no such status", {"status_id": 15}),
        ("a truth", {"status_id": True}),
        ("notes that are no text", {"status_id": 5, "staff_notes": 1}),
        ("fees that are no list", {"status_id": 5, "fees": {}}),
        ("a fee without a cost", {"status_id": 5, "fees": [{}]}),
        ("a fee with a strange cost", {"status_id": 5, "fees": [{"cost_inc_tax": "much"}]}),
        ("no object", [5]),
        ("no JSON", b"status_id=5"),
    ],
)
def test_an_update_that_cannot_be_read_is_refused_and_changes_nothing(
    store: Store, _case: str, body: Any
) -> None:
    status, errors = store.put(body)
    assert (status, [each["status"] for each in errors]) == (400, [400])
    assert (store.status()[0], store.book()) == (11, [])


def test_even_a_shipped_order_can_be_cancelled(store: Store) -> None:
    store.seed(
        id=1002, lines=[{"id": 20, "sku": "MUG", "unit_minor": 900, "shipped": 1, "stock": 1}], status_id=2
    )
    shipments = store.get("/v2/orders/1002/shipments")

    assert [(x["order_product_id"], x["quantity"]) for x in shipments[0]["items"]] == [(20, 1)]
    assert store.put({"status_id": 5}, 1002)[0] == 200
    assert store.book("cancel_order") == [("cancel_order", None)]


def test_deleting_an_order_only_archives_it(store: Store) -> None:
    assert store.ask("DELETE", "/v2/orders/1001") == (204, None)
    assert (store.get("/v2/orders/1001")["is_deleted"], store.status()) == (True, (11, "captured"))
    assert store.ask("GET", "/v2/orders") == (204, None)
    assert [x["id"] for x in store.get("/v2/orders", is_deleted="true")] == [1001]
    assert store.book() == [("archive_order", None)]


def test_new_notes_replace_the_old_ones(store: Store) -> None:
    store.put({"staff_notes": "call her first"})
    assert store.put({"status_id": 5, "staff_notes": "ours"})[1]["staff_notes"] == "ours"


def test_fields_that_touch_lines_wipe_discounts_and_fees_are_replaced_as_a_whole(store: Store) -> None:
    store.seed(
        id=1002,
        lines=[{"id": 20, "sku": "MUG", "unit_minor": 1000, "quantity": 2, "discount_minor": 500}],
        fees=[
            {"id": 71, "name": "Gift", "amount_minor": 200},
            {"id": 72, "name": "Rush", "amount_minor": 300},
        ],
    )
    assert store.get("/v2/orders/1002")["total_inc_tax"] == "20.0000"
    assert store.get("/v2/orders/1002/products")[0]["applied_discounts"][0]["amount"] == "5.0000"

    changed = store.put(
        {"products": [{"id": 20}], "fees": [{"id": 71}, {"display_name_customer": "X", "cost_inc_tax": 1}]},
        1002,
    )[1]
    assert changed["total_inc_tax"] == "23.0000"
    assert [x["cost_inc_tax"] for x in store.get("/v2/orders/1002/fees")] == ["2.0000", "1.0000"]
    store.put({"products": [{"id": 20, "quantity": 0}]}, 1002)
    assert store.ask("GET", "/v2/orders/1002/products") == (204, None)


# ---------------------------------------------------------------- reading, v2


def test_amounts_are_texts_of_four_places_and_refunded_amount_is_always_zero(store: Store) -> None:
    store.pay_back(10)
    order = store.get("/v2/orders/1001")
    lines = store.get("/v2/orders/1001/products")

    assert (order["total_inc_tax"], order["shipping_cost_inc_tax"], order["refunded_amount"]) == (
        "52.5000",
        "10.0000",
        "0.0000",
    )
    assert (order["default_currency_code"], order["payment_provider_id"]) == ("EUR", "ch_1")
    assert order["date_created"] == "Mon, 23 Nov 2026 12:00:00 +0000"
    assert order["billing_address"]["email"] == "jane@example.com"
    assert [
        (x["id"], x["sku"], x["quantity"], x["quantity_refunded"], x["refund_amount"]) for x in lines
    ] == [(8, "POSTER", 2, 0, "0.0000"), (9, "FRAME", 1, 0, "0.0000")]
    assert {x["order_address_id"] for x in lines} == {store.order["address_id"]}
    assert [x["id"] for x in store.get("/v2/orders/1001/shipping_addresses")] == [store.order["address_id"]]


def test_an_empty_list_is_a_204_without_a_body(store: Store) -> None:
    for path in ("/v2/orders?status_id=5", "/v2/orders/1001/shipments", "/v2/orders/1001/fees"):
        answer = store.call("GET", path)
        assert isinstance(answer, Answer)
        assert (answer.status, answer.payload) == (204, b"")
    store.seed(id=1002, lines=[{"unit_minor": 1}], payments=[{"gateway": "bankdeposit"}])
    assert store.ask("GET", "/v3/orders/1002/transactions") == (204, None)
    assert store.get("/v3/orders/1002/payment_actions/refunds") == {"data": [], "meta": {}}


def test_orders_are_found_by_time_of_change_status_and_page(store: Store) -> None:
    for n in range(2, 5):
        store.seed(
            id=1000 + n,
            lines=[{"unit_minor": 100 * n}],
            created=f"2026-11-2{n - 1}T00:00:00Z",
            external_order_id=f"x{n}",
        )
    store.now += timedelta(minutes=5)
    store.put({"status_id": 5}, 1002)

    def ids(**query: Any) -> list[int]:
        return [each["id"] for each in store.get("/v2/orders", **query)]

    assert ids() == [1001, 1002, 1003, 1004]
    assert ids(status_id=5) == [1002]
    assert ids(min_date_modified="2026-11-23T12:00:00+00:00", sort="date_modified:desc") == [1002, 1001]
    assert ids(min_date_modified="Mon, 23 Nov 2026 12:00:00 +0000", sort="date_modified") == [1001, 1002]
    assert ids(max_date_created="2026-11-22") == [1002, 1003]
    assert ids(min_id=1003, external_order_id="x4") == [1004]
    assert ids(min_total="4.00", email="customer@example.com") == [1004]
    assert ids(limit=3, page=2) == [1004]
    assert store.ask("GET", "/v2/orders?limit=3&page=3") == (204, None)
    assert ids(made_up="1001") == [1001, 1002, 1003, 1004]
    for wrong in ("sort=total", "min_date_created=soon", "page=0", "min_id=x"):
        assert store.ask("GET", f"/v2/orders?{wrong}")[0] == 400


def test_a_page_holds_at_most_250_orders_whatever_was_asked(store: Store) -> None:
    orders = [{"lines": [{"unit_minor": 1}]} for _ in range(255)]
    store.world.seed({"bigcommerce": {"orders": orders}})
    assert [len(store.get("/v2/orders", limit=1000, page=page)) for page in (1, 2)] == [250, 6]
    assert len(store.get("/v2/orders")) == 50


def test_all_fifteen_statuses_are_named(store: Store) -> None:
    names = {each["id"]: each["name"] for each in store.get("/v2/order_statuses")}
    assert (len(names), names[4], names[5], names[13], names[14]) == (
        15,
        "Refunded",
        "Cancelled",
        "Disputed",
        "Partially Refunded",
    )


# ---------------------------------------------------------------- quote and refund


def test_a_quote_says_the_amount_and_every_way_to_pay_back(store: Store) -> None:
    status, answer = store.quote(*everything(store))
    quote = answer["data"]
    ways = [
        [(x["provider_id"], x["amount"], x["offline"]) for x in method] for method in quote["refund_methods"]
    ]

    assert (status, quote["total_refund_amount"], quote["adjustment"]) == (201, 52.5, 0)
    assert ways == [[("storecredit", 52.5, False)], [("custom", 52.5, True)], [("stripe", 52.5, False)]]
    assert (store.refunds(), store.book(), store.status()) == ([], [], (11, "captured"))


def test_a_refund_through_the_gateway_is_one_book_line_with_amount_and_reference(store: Store) -> None:
    status, answer = store.refund(everything(store), [{"provider_id": "stripe", "amount": 52.5}])
    refund = answer["data"]
    payment = refund["payments"][0]

    assert (status, refund["total_amount"], payment["is_declined"], payment["transaction_id"]) == (
        201,
        52.5,
        False,
        "",
    )
    lines = store.vendor.book.lines()
    assert [(x["effect"], x["id"], x["amount_minor"], x["currency"], x["reference"]) for x in lines] == [
        ("refund", str(refund["id"]), 5250, "EUR", REFERENCE)
    ]
    assert lines[0]["target"] == {
        "order": "1001",
        "payment": str(payment["id"]),
        "provider": "stripe",
        "transaction": "ch_1",
    }
    transactions = store.get("/v3/orders/1001/transactions")["data"]
    assert [(x["event"], x["status"], x["amount"]) for x in transactions] == [
        ("purchase", "ok", 52.5),
        ("refund", "ok", 52.5),
    ]
    assert transactions[1]["reference_transaction_id"] == transactions[0]["id"]
    assert store.refunds()[0]["payments"][0]["transaction_id"] == str(transactions[1]["id"])
    assert store.status() == (4, "refunded")
    assert [x["is_refunded"] for x in store.get("/v2/orders/1001/products")] == [True, True]


def test_there_is_no_idempotency_so_the_same_request_pays_twice(store: Store) -> None:
    assert [store.pay_back(10)[0], store.pay_back(10)[0]] == [201, 201]
    assert store.book() == [("refund", 1000), ("refund", 1000)]
    assert store.status() == (14, "partially refunded")


@pytest.mark.parametrize(
    ("_case", "item"),
    [
        ("more units than were bought", {"item_type": "PRODUCT", "item_id": 8, "quantity": 3}),
        ("no units", {"item_type": "PRODUCT", "item_id": 8, "quantity": 0}),
        ("units as text", {"item_type": "PRODUCT", "item_id": 8, "quantity": "1"}),
        ("an amount for a product", {"item_type": "PRODUCT", "item_id": 8, "amount": 15.0}),
        ("another order's line", {"item_type": "PRODUCT", "item_id": 7, "quantity": 1}),
        ("the order's id for shipping", {"item_type": "SHIPPING", "item_id": 1001, "amount": 1.0}),
        ("more shipping than was paid", {"item_type": "SHIPPING", "item_id": None, "amount": 10.01}),
        ("handling that was not paid", {"item_type": "HANDLING", "item_id": None, "amount": 1.0}),
        ("an unknown fee", {"item_type": "FEE", "item_id": 1, "amount": 1.0}),
        ("another order", {"item_type": "ORDER", "item_id": 1002, "amount": 1.0}),
        ("nothing", {"item_type": "ORDER", "item_id": 1001, "amount": 0}),
        ("a negative amount", {"item_type": "ORDER", "item_id": 1001, "amount": -1}),
        ("a third decimal", {"item_type": "ORDER", "item_id": 1001, "amount": 1.005}),
        ("an amount as text", {"item_type": "ORDER", "item_id": 1001, "amount": "1.00"}),
        ("an unknown type", {"item_type": "LINE", "item_id": 8, "quantity": 1}),
        ("a long reason", {"item_type": "PRODUCT", "item_id": 8, "quantity": 1, "reason": "x" * 1001}),
        (
            "a deduction that adds",
            {"item_type": "PRODUCT", "item_id": 8, "quantity": 1, "adjustments": [{"amount": 1}]},
        ),
        (
            "a deduction above the worth",
            {"item_type": "PRODUCT", "item_id": 8, "quantity": 1, "adjustments": [{"amount": -15.01}]},
        ),
    ],
)
def test_items_that_cannot_be_refunded_are_refused_by_quote_and_refund(
    store: Store, _case: str, item: dict[str, Any]
) -> None:
    item = {**item, "item_id": item["item_id"] or store.order["address_id"]}
    refused = store.refund([item], [{"provider_id": "stripe", "amount": 1}])
    assert (store.quote(item)[0], refused[0], refused[1]["status"]) == (422, 422, 422)
    assert (store.refunds(), store.book(), store.status()) == ([], [], (11, "captured"))


@pytest.mark.parametrize(
    ("_case", "payments"),
    [
        ("a cent less", [{"provider_id": "stripe", "amount": 14.99}]),
        ("a cent more", [{"provider_id": "stripe", "amount": 15.01}]),
        ("another provider", [{"provider_id": "paypalexpress", "amount": 15}]),
        (
            "two ways mixed",
            [{"provider_id": "stripe", "amount": 10}, {"provider_id": "storecredit", "amount": 5}],
        ),
        ("an offline way without saying so", [{"provider_id": "custom", "amount": 15, "offline": False}]),
        ("an amount as text", [{"provider_id": "stripe", "amount": "15.00"}]),
        ("offline as text", [{"provider_id": "stripe", "amount": 15, "offline": "true"}]),
        ("none", []),
    ],
)
def test_payments_must_be_one_whole_way_of_the_quote(
    store: Store, _case: str, payments: list[dict[str, Any]]
) -> None:
    status, _ = store.refund([{"item_type": "PRODUCT", "item_id": 8, "quantity": 1}], payments)
    assert (status, store.refunds(), store.book()) == (422, [], [])


def test_a_wrong_sum_is_refused_inside_data(store: Store) -> None:
    _, answer = store.refund(everything(store), [{"provider_id": "stripe", "amount": 52.49}])
    assert [each["status"] for each in answer["data"]] == [422]


def test_what_was_refunded_once_is_not_left_to_refund(store: Store) -> None:
    item = {"item_type": "PRODUCT", "item_id": 8, "quantity": 2}
    assert store.refund([item], [{"provider_id": "stripe", "amount": 30}])[0] == 201
    assert store.refund([item], [{"provider_id": "stripe", "amount": 30}])[0] == 422
    assert store.book() == [("refund", 3000)]


def test_two_items_for_the_same_line_share_its_units(store: Store) -> None:
    item = {"item_type": "PRODUCT", "item_id": 8, "quantity": 1}
    assert store.quote(item, item)[1]["data"]["total_refund_amount"] == 30
    assert store.quote(item, item, item)[0] == 422


def test_a_quote_for_more_than_is_left_is_cut_down_with_an_adjustment(store: Store) -> None:
    store.pay_back(20)
    quote = store.quote(*everything(store))[1]["data"]

    assert (quote["total_refund_amount"], quote["adjustment"]) == (32.5, -20)
    assert store.refund(everything(store), [{"provider_id": "stripe", "amount": 52.5}])[0] == 422
    assert store.refund(everything(store), [{"provider_id": "stripe", "amount": 32.5}])[0] == 201
    assert store.book() == [("refund", 2000), ("refund", 3250)]
    assert store.quote({"item_type": "ORDER", "item_id": 1001, "amount": 1})[0] == 422


def test_taxes_come_on_top_of_shipping_where_prices_are_without_tax(store: Store) -> None:
    made = store.seed(
        id=1002,
        lines=[{"id": 20, "sku": "MUG", "unit_minor": 1083, "unit_tax_minor": 83}],
        shipping_minor=1100,
        shipping_tax_minor=100,
    )
    items = [
        {"item_type": "PRODUCT", "item_id": 20, "quantity": 1},
        {"item_type": "SHIPPING", "item_id": made["address_id"], "amount": 10},
    ]
    quote = store.quote(*items, order=1002)[1]["data"]

    assert (quote["total_refund_amount"], quote["total_refund_tax_amount"], quote["tax_inclusive"]) == (
        21.83,
        1.83,
        False,
    )
    assert store.quote({**items[1], "amount": 11}, order=1002)[0] == 422


def test_units_of_a_discounted_line_are_worth_their_share_and_add_up(store: Store) -> None:
    line = {"id": 20, "sku": "MUG", "unit_minor": 1000, "quantity": 3, "discount_minor": 1000}
    store.seed(id=1002, lines=[line], payments=[{"gateway": "stripe"}])
    item = {"item_type": "PRODUCT", "item_id": 20, "quantity": 1}
    totals = []
    for _ in range(3):
        totals.append(store.quote(item, order=1002)[1]["data"]["total_refund_amount"])
        store.refund([item], [{"provider_id": "stripe", "amount": totals[-1]}], 1002)

    assert totals == [6.66, 6.67, 6.67]
    assert [amount for _, amount in store.book("refund")] == [666, 667, 667]


def test_deductions_wrapping_handling_and_fees_are_counted(store: Store) -> None:
    made = store.seed(
        id=1002,
        lines=[{"id": 20, "sku": "MUG", "unit_minor": 1000, "wrapping_minor": 150}],
        handling_minor=300,
        fees=[{"id": 71, "amount_minor": 200}],
        payments=[{"gateway": "stripe"}],
    )
    items = [
        {"item_type": "PRODUCT", "item_id": 20, "quantity": 1, "adjustments": [{"amount": -2.00}]},
        {"item_type": "GIFT_WRAPPING", "item_id": 20, "quantity": 1},
        {"item_type": "HANDLING", "item_id": made["address_id"], "amount": 3},
        {"item_type": "FEE", "item_id": 71, "amount": 2},
    ]
    assert store.refund(items, [{"provider_id": "stripe", "amount": 14.5}], 1002)[0] == 201
    assert store.book() == [("refund", 1450)]
    assert store.refunds(1002)[0]["items"][0]["adjustments"] == [{"amount": -2, "description": ""}]


def test_taxes_can_be_refunded_alone_and_overcharged_ones_were_not(store: Store) -> None:
    line = {"unit_minor": 1190, "unit_tax_minor": 190}
    made = store.seed(id=1002, lines=[line], payments=[{"gateway": "stripe"}])
    tax = {"item_type": "TAX", "item_id": made["address_id"], "amount": 1.90}

    assert store.quote({**tax, "amount": 1.91}, order=1002)[0] == 422
    assert store.quote(tax, order=1002, tax_adjustment_amount=1)[0] == 422
    assert store.refund([tax], [{"provider_id": "stripe", "amount": 1.9}], 1002)[0] == 201
    assert store.quote(tax, order=1002)[0] == 422
    assert store.book() == [("refund", 190)]


def test_a_merchants_own_sum_overrides_the_quote_but_not_what_is_left(store: Store) -> None:
    override: dict[str, Any] = {"merchant_calculated_override": {"total_amount": 12.34, "total_tax": 0}}
    items = [{"item_type": "PRODUCT", "item_id": 8, "quantity": 1}]
    refused = store.refund(items, [{"provider_id": "stripe", "amount": 15}], **override)
    made = store.refund(items, [{"provider_id": "stripe", "amount": 12.34}], **override)
    too_much: dict[str, Any] = {"merchant_calculated_override": {"total_amount": 52.50, "total_tax": 0}}

    assert (refused[0], made[0], made[1]["data"]["uses_merchant_override_values"]) == (422, 201, True)
    assert store.refund(items, [{"provider_id": "stripe", "amount": 52.5}], **too_much)[0] == 422
    assert store.book() == [("refund", 1234)]


def test_an_offline_refund_is_only_recorded(store: Store) -> None:
    status, _ = store.pay_back(52.5, offline=True)

    assert (status, store.book()) == (201, [("record_refund", 5250)])
    assert [x["event"] for x in store.get("/v3/orders/1001/transactions")["data"]] == ["purchase"]
    assert store.status() == (4, "refunded")


def test_the_offline_way_of_the_quote_is_recorded_too(store: Store) -> None:
    item = {"item_type": "ORDER", "item_id": 1001, "amount": 10, "reason": REFERENCE}
    assert store.refund([item], [{"provider_id": "custom", "amount": 10, "offline": True}])[0] == 201
    assert [(x["effect"], x["reference"]) for x in store.vendor.book.lines()] == [
        ("record_refund", REFERENCE)
    ]


def test_store_credit_and_an_offline_payment_go_back_where_they_came_from(store: Store) -> None:
    store.seed(
        id=1002,
        lines=[{"id": 20, "sku": "MUG", "unit_minor": 11935}],
        payments=[
            {"gateway": "bankdeposit", "amount_minor": 8035},
            {"gateway": "storecredit", "amount_minor": 3900},
        ],
    )
    item = {"item_type": "PRODUCT", "item_id": 20, "quantity": 1}
    methods = store.quote(item, order=1002)[1]["data"]["refund_methods"]
    assert [
        [(x["provider_id"], x["amount"], x["offline"], x["offline_provider"]) for x in each]
        for each in methods
    ] == [
        [("storecredit", 119.35, False, False)],
        [("custom", 119.35, True, True)],
        [("bankdeposit", 80.35, True, True), ("storecredit", 39, False, False)],
    ]
    payments = [{key: x[key] for key in ("provider_id", "amount", "offline")} for x in methods[2]]
    assert store.refund([item], payments, 1002)[0] == 201
    assert sorted(store.book()) == [("record_refund", 8035), ("refund", 3900)]


def test_the_first_way_of_the_quote_can_be_store_credit_and_then_pays_store_credit(store: Store) -> None:
    first = store.quote(*everything(store))[1]["data"]["refund_methods"][0]
    store.refund(everything(store), first)
    assert [x["target"]["provider"] for x in store.vendor.book.lines("refund")] == ["storecredit"]


def test_a_guest_is_offered_and_gets_no_store_credit(store: Store) -> None:
    store.seed(id=1002, customer_id=0, lines=[{"unit_minor": 500}], payments=[{"gateway": "stripe"}])
    item = {"item_type": "ORDER", "item_id": 1002, "amount": 5}
    methods = store.quote(item, order=1002)[1]["data"]["refund_methods"]
    status, answer = store.refund([item], [{"provider_id": "storecredit", "amount": 5}], 1002)

    assert [[x["provider_id"] for x in each] for each in methods] == [["custom"], ["stripe"]]
    assert (status, [each["status"] for each in answer["data"]], store.book()) == (422, [422], [])


def test_a_gateway_without_partial_refunds_offers_them_offline_with_a_reason(store: Store) -> None:
    payment = {"gateway": "migs", "can_refund_part": False}
    store.seed(id=1002, lines=[{"unit_minor": 500}], payments=[payment])
    part = store.quote({"item_type": "ORDER", "item_id": 1002, "amount": 2}, order=1002)[1]["data"]
    whole = store.quote({"item_type": "ORDER", "item_id": 1002, "amount": 5}, order=1002)[1]["data"]

    option = part["refund_methods"][-1][0]
    assert (option["offline"], option["offline_provider"], bool(option["offline_reason"])) == (
        True,
        False,
        True,
    )
    assert whole["refund_methods"][-1][0]["offline"] is False


def test_a_gateway_without_refunds_is_only_offered_offline(store: Store) -> None:
    store.seed(id=1002, lines=[{"unit_minor": 500}], payments=[{"gateway": "stripe", "can_refund": False}])
    assert (store.pay_back(5, 1002)[0], store.book()) == (422, [])
    assert (store.pay_back(5, 1002, offline=True)[0], store.book()) == (201, [("record_refund", 500)])


def test_a_payment_that_is_not_settled_becomes_refundable_later(store: Store) -> None:
    store.seed(id=1002, lines=[{"unit_minor": 500}], payments=[{"gateway": "stripe", "is_settled": False}])
    assert store.quote({"item_type": "ORDER", "item_id": 1002, "amount": 5}, order=1002)[0] == 201
    refused = store.pay_back(5, 1002)
    store.world.settle("bigcommerce", {"order": 1002, "payment": "settled"})

    assert (refused[0], [each["status"] for each in refused[1]["data"]]) == (422, [422])
    assert store.pay_back(5, 1002)[0] == 201
    assert store.book() == [("refund", 500)]


def test_a_refund_can_be_read_alone_and_over_the_whole_store(store: Store) -> None:
    store.seed(id=1002, lines=[{"unit_minor": 500}], payments=[{"gateway": "stripe"}])
    first = store.pay_back(10)[1]["data"]["id"]
    store.now += timedelta(hours=1)
    second = store.pay_back(5, 1002)[1]["data"]["id"]

    def ids(**query: Any) -> list[int]:
        named = {name.replace("__", ":"): value for name, value in query.items()}
        return [each["id"] for each in store.get("/v3/orders/payment_actions/refunds", **named)["data"]]

    alone = store.get(f"/v3/orders/payment_actions/refunds/{first}")["data"]
    assert (alone["items"][0]["reason"], alone["items"][0]["requested_amount"]) == (REFERENCE, "10.00")
    assert "transaction_id" not in alone["payments"][0]
    assert ids() == [first, second]
    assert ids(order_id__in="1002,1003") == [second]
    assert ids(id__in=f"{first}") == [first]
    assert ids(created__min="2026-11-23T12:30:00Z") == [second]
    assert ids(created__max="2026-11-23T12:00:00Z") == [first]
    assert ids(limit=1, page=2) == [second]
    assert ids(transaction_id=store.refunds()[0]["payments"][0]["transaction_id"]) == [first]
    assert store.ask("GET", "/v3/orders/payment_actions/refunds/1")[0] == 404


# ---------------------------------------------------------------- the order's status


def test_a_later_refund_overwrites_the_status_cancelled(store: Store) -> None:
    store.put({"status_id": 5})
    store.pay_back(10)
    assert store.status()[0] == 14
    store.pay_back(42.5)
    assert store.status()[0] == 4
    store.put({"status_id": 5})
    assert store.status() == (5, "refunded")


def test_a_cancelled_order_can_be_practised_to_stay_cancelled(store: Store) -> None:
    store.set(habits={"is_cancelled_overwritten": False})
    store.put({"status_id": 5})
    store.pay_back(52.5)
    assert store.status() == (5, "refunded")


# ---------------------------------------------------------------- the gateway is asynchronous


def test_a_held_refund_looks_accepted_and_sends_nothing_until_settled(store: Store) -> None:
    store.fault(Kind.SLOW_PENDING, "create_refund")
    refund = store.pay_back(52.5)[1]["data"]
    held = store.refunds()[0]["payments"][0]

    assert (held["is_declined"], held["transaction_id"], store.book()) == (False, "", [])
    assert store.status() == (4, "captured")
    assert store.quote({"item_type": "ORDER", "item_id": 1001, "amount": 1})[0] == 422
    store.world.settle("bigcommerce", {"refund": refund["id"], "status": "succeeded"})
    assert store.book() == [("refund", 5250)]
    assert (store.status()[1], bool(store.refunds()[0]["payments"][0]["transaction_id"])) == (
        "refunded",
        True,
    )
    with pytest.raises(ValueError, match="any more"):
        store.world.settle("bigcommerce", {"refund": refund["id"], "status": "succeeded"})


def test_a_held_refund_that_is_declined_was_never_sent_and_can_be_tried_again(store: Store) -> None:
    store.fault(Kind.SLOW_PENDING, "create_refund")
    refund = store.refund(everything(store), [{"provider_id": "stripe", "amount": 52.5}])[1]["data"]
    store.world.settle("bigcommerce", {"refund": refund["id"], "status": "declined", "message": "No funds"})

    payment = store.refunds()[0]["payments"][0]
    assert (payment["is_declined"], payment["declined_message"]) == (True, "No funds")
    assert [x["status"] for x in store.get("/v3/orders/1001/transactions")["data"]] == ["ok", "error"]
    assert store.status() == (4, "captured")
    assert store.refund(everything(store), [{"provider_id": "stripe", "amount": 52.5}])[0] == 201
    assert store.book() == [("refund_declined", 5250), ("refund", 5250)]


def test_a_refund_marked_to_fail_late_is_declined_when_told(store: Store) -> None:
    store.fault(Kind.LATE_FAILURE, "create_refund")
    store.pay_back(52.5)
    assert (store.status(), store.book()) == ((4, "refunded"), [("refund", 5250)])

    declined = store.world.settle("bigcommerce", {})
    assert [x["payments"][0]["is_declined"] for x in declined] == [True]
    assert store.refunds()[0]["payments"][0]["is_declined"] is True
    assert (store.status(), store.book()) == ((4, "captured"), [("refund", 5250), ("refund_failed", 5250)])
    assert store.world.settle("bigcommerce", {}) == []


def test_a_refund_that_was_only_recorded_cannot_fail_late(store: Store) -> None:
    store.fault(Kind.LATE_FAILURE, "create_refund")
    store.pay_back(10, offline=True)
    assert store.world.settle("bigcommerce", {}) == []


# ---------------------------------------------------------------- void


@pytest.fixture
def held(store: Store) -> Store:
    """The store, with order 1002 authorised for 9.00 but not captured."""
    payment = {"gateway": "stripe", "is_captured": False, "transaction_id": "ch_2"}
    store.seed(id=1002, lines=[{"unit_minor": 900}], payments=[payment])
    return store


VOID = "/v3/orders/1002/payment_actions/void"


def test_an_authorisation_is_voided_once_and_cannot_be_refunded(held: Store) -> None:
    item = {"item_type": "ORDER", "item_id": 1002, "amount": 9}
    assert (held.status(1002), held.quote(item, order=1002)[0]) == ((11, "authorized"), 422)
    assert held.ask("POST", VOID) == (201, {})
    assert held.status(1002) == (11, "void")
    assert held.ask("POST", VOID)[0] == 422
    assert [(x["effect"], x["amount_minor"], x["target"]) for x in held.vendor.book.lines()] == [
        ("void", 900, {"order": "1002", "transaction": "ch_2"})
    ]
    events = [x["event"] for x in held.get("/v3/orders/1002/transactions")["data"]]
    assert (events, held.quote(item, order=1002)[0]) == (["authorization", "void"], 422)


def test_a_captured_payment_cannot_be_voided(held: Store) -> None:
    held.world.settle("bigcommerce", {"order": 1002, "payment": "captured"})
    assert held.status(1002) == (11, "captured")
    assert (held.ask("POST", VOID)[0], held.book()) == (422, [])


def test_a_slow_void_is_pending_until_settled(held: Store) -> None:
    held.fault(Kind.SLOW_PENDING, "void_payment")
    assert held.ask("POST", VOID)[0] == 201
    assert (held.status(1002)[1], held.book(), held.ask("POST", VOID)[0]) == ("void pending", [], 422)
    held.world.settle("bigcommerce", {"order": 1002, "void": "succeeded"})
    assert (held.status(1002)[1], held.book()) == ("void", [("void", 900)])


def test_a_void_that_fails_late_is_authorised_again(held: Store) -> None:
    held.fault(Kind.LATE_FAILURE, "void_payment")
    held.ask("POST", VOID)
    held.world.settle("bigcommerce", {})
    assert held.status(1002)[1] == "authorized"
    assert held.book() == [("void", 900), ("void_failed", 900)]


# ---------------------------------------------------------------- stock


@pytest.mark.parametrize(
    ("_case", "setting", "honoured", "after_refund", "after_cancel"),
    [
        ("on, honoured for cancels", True, ["cancel"], [], [("POSTER", 2), ("FRAME", 1)]),
        (
            "on, honoured for refunds",
            True,
            ["refund"],
            [("POSTER", 2), ("FRAME", 1)],
            [("POSTER", 2), ("FRAME", 1)],
        ),
        (
            "on, honoured for both, yet once",
            True,
            ["cancel", "refund"],
            [("POSTER", 2), ("FRAME", 1)],
            [("POSTER", 2), ("FRAME", 1)],
        ),
        ("on, never honoured for the API", True, [], [], []),
        ("off", False, ["cancel", "refund"], [], []),
    ],
)
def test_the_setting_returns_stock_as_the_practised_reading_says(
    store: Store, _case: str, setting: bool, honoured: list[str], after_refund: Any, after_cancel: Any
) -> None:
    store.set(habits={"api_adjusts_stock_on": honoured}, inventory={"refund_order_stock_adjustment": setting})
    assert store.get("/v3/settings/inventory")["data"]["refund_order_stock_adjustment"] is setting
    store.pay_back(52.5)
    assert store.restocked() == after_refund
    store.put({"status_id": 5, "staff_notes": REFERENCE})
    assert store.restocked() == after_cancel
    assert store.stock("POSTER") == 3 + sum(n for sku, n in after_cancel if sku == "POSTER")


def test_a_partial_refund_returns_no_stock(store: Store) -> None:
    store.set(habits={"api_adjusts_stock_on": ["refund"]})
    item = {"item_type": "PRODUCT", "item_id": 8, "quantity": 2}
    store.refund([item], [{"provider_id": "stripe", "amount": 30}])
    assert (store.restocked(), store.stock("POSTER")) == ([], 3)


def test_restock_lines_name_line_order_and_reference(store: Store) -> None:
    store.put({"status_id": 5, "staff_notes": REFERENCE})
    assert [
        (x["id"], x["sku"], x["quantity"], x["target"], x["reference"])
        for x in store.vendor.book.lines("restock")
    ] == [("8", "POSTER", 2, {"order": "1001"}, REFERENCE), ("9", "FRAME", 1, {"order": "1001"}, REFERENCE)]


def test_a_channel_may_override_the_setting_and_says_null_where_it_does_not(store: Store) -> None:
    store.set(channels={"2": {"refund_order_stock_adjustment": False}})
    store.seed(id=1002, channel_id=2, lines=[{"sku": "MUG", "unit_minor": 1}])
    settings = store.get("/v3/settings/inventory", channel_id=2)["data"]

    assert (settings["refund_order_stock_adjustment"], settings["update_stock_behavior"]) == (False, None)
    store.put({"status_id": 5}, 1002)
    assert store.restocked() == []


def test_an_order_that_took_no_stock_yet_gives_none_back(store: Store) -> None:
    store.set(inventory={"update_stock_behavior": "order_completed_or_shipped"})
    store.seed(id=1002, lines=[{"sku": "MUG", "unit_minor": 1, "stock": 4}])
    store.put({"status_id": 5}, 1002)
    assert (store.restocked(), store.stock("MUG")) == ([], 4)


def test_orders_of_the_same_sku_share_its_stock(store: Store) -> None:
    made = store.seed(id=1002, lines=[{"sku": "POSTER", "unit_minor": 1500}])
    assert made["lines"][0]["variant_id"] == store.order["lines"][0]["variant_id"]
    store.put({"status_id": 5})
    store.put({"status_id": 5}, 1002)
    assert (store.stock("POSTER"), store.restocked()) == (6, [("POSTER", 2), ("FRAME", 1), ("POSTER", 1)])


def test_what_is_not_tracked_is_not_returned_or_adjusted(store: Store) -> None:
    store.seed(id=1002, lines=[{"sku": "FILE", "unit_minor": 1, "type": "digital"}])
    store.put({"status_id": 5}, 1002)
    assert store.restocked() == []
    assert store.adjust({"location_id": 1, "sku": "FILE", "quantity": 1})[0] == 422


def test_adding_blindly_after_the_setting_did_restocks_twice(store: Store) -> None:
    store.put({"status_id": 5})
    status, answer = store.adjust({"location_id": 1, "sku": "POSTER", "quantity": 2})
    assert (status, list(answer)) == (200, ["transaction_id"])
    assert store.restocked() == [("POSTER", 2), ("FRAME", 1), ("POSTER", 2)]
    assert store.stock("POSTER") == 7


def test_adjustments_are_relative_and_not_idempotent(store: Store) -> None:
    for _ in range(2):
        store.adjust({"location_id": 1, "variant_id": store.order["lines"][0]["variant_id"], "quantity": 2})
    store.adjust({"location_id": 1, "sku": "POSTER", "quantity": -1})

    lines = store.vendor.book.lines()
    assert [(x["effect"], x["sku"], x["quantity"], x["reference"]) for x in lines] == [
        ("restock", "POSTER", 2, REFERENCE),
        ("restock", "POSTER", 2, REFERENCE),
        ("reduce_stock", "POSTER", 1, REFERENCE),
    ]
    assert store.stock("POSTER") == 6


@pytest.mark.parametrize(
    ("_case", "item"),
    [
        ("an unknown sku", {"location_id": 1, "sku": "GONE", "quantity": 1}),
        ("no identity", {"location_id": 1, "quantity": 1}),
        ("two identities", {"location_id": 1, "sku": "POSTER", "variant_id": 1, "quantity": 1}),
        ("an unknown location", {"location_id": 2, "sku": "POSTER", "quantity": 1}),
        ("no location", {"sku": "POSTER", "quantity": 1}),
        ("a fraction", {"location_id": 1, "sku": "POSTER", "quantity": 0.5}),
        ("less than nothing", {"location_id": 1, "sku": "FRAME", "quantity": -1}),
        ("a product whose variants are tracked", {"location_id": 1, "product_id": None, "quantity": 1}),
    ],
)
def test_one_wrong_item_refuses_the_whole_adjustment(store: Store, _case: str, item: dict[str, Any]) -> None:
    if "product_id" in item:
        item = {**item, "product_id": store.order["lines"][0]["product_id"]}
    answer = store.call(
        "POST",
        "/v3/inventory/adjustments/relative",
        {"items": [{"location_id": 1, "sku": "POSTER", "quantity": 1}, item]},
    )
    assert isinstance(answer, Answer)
    assert (answer.status, answer.content_type) == (422, "application/problem+json")
    assert (store.stock("POSTER"), store.book()) == (3, [])


def test_an_adjustment_has_1_to_2000_items(store: Store) -> None:
    item = {"location_id": 1, "sku": "POSTER", "quantity": 0}
    assert [store.adjust(*[item] * n)[0] for n in (0, 2000, 2001)] == [422, 200, 422]
    assert store.book() == []


def test_stock_is_listed_by_location_and_the_controls_can_read_and_set_it(store: Store) -> None:
    store.set(locations=[{"id": 2, "name": "Back room"}])
    items = store.get("/v3/inventory/items", **{"sku:in": "POSTER,GONE", "location_id:in": "1,2"})["data"]

    assert [(x["location_id"], x["available_to_sell"]) for x in items[0]["locations"]] == [(1, 3), (2, 0)]
    assert store.world.settle("bigcommerce", {"stock": "POSTER"}) == [{"sku": "POSTER", "stock": 3}]
    assert store.world.settle("bigcommerce", {"stock": "FRAME", "quantity": 8})[0]["stock"] == 8
    assert store.stock("FRAME") == 8
    assert store.ask("GET", "/v3/inventory/locations/9/items")[0] == 404


# ---------------------------------------------------------------- metafields


def test_the_second_claim_of_the_same_key_is_refused_with_409(store: Store) -> None:
    status, answer = store.claim()
    again, refused = store.claim()

    assert (status, answer["data"]["value"], answer["data"]["resource_id"]) == (200, "started", 1001)
    assert (again, refused["status"], bool(refused["errors"])) == (409, 409, True)
    assert store.claim("op_01J9:2")[0] == 200
    found = store.get("/v3/orders/1001/metafields", namespace="refundflow", key="op_01J9")
    assert [each["id"] for each in found["data"]] == [answer["data"]["id"]]
    assert found["meta"]["pagination"]["total"] == 1


def test_another_app_has_its_own_claims_and_does_not_see_ours(store: Store) -> None:
    store.set(accounts=[{"token": "other"}])
    store.claim()
    assert store.claim(x_auth_token="other")[0] == 200
    assert len(store.get("/v3/orders/1001/metafields")["data"]) == 1


def test_an_app_has_at_most_250_metafields_on_an_order_and_pages_through_them(store: Store) -> None:
    assert {store.claim(f"op_{n}")[0] for n in range(250)} == {200}
    assert store.claim("op_250")[0] == 422
    page = store.get("/v3/orders/1001/metafields", limit=100, page=2, direction="desc")
    assert [each["key"] for each in page["data"]][::99] == ["op_149", "op_50"]
    assert page["meta"]["pagination"]["links"] == {
        "previous": "?page=1&limit=100",
        "current": "?page=2&limit=100",
        "next": "?page=3&limit=100",
    }


@pytest.mark.parametrize("missing", ["permission_set", "namespace", "key", "value"])
def test_a_metafield_needs_all_its_parts(store: Store, missing: str) -> None:
    body = {"permission_set": "app_only", "namespace": "refundflow", "key": "k", "value": "v"}
    for changed in ({**body, missing: ""}, {name: each for name, each in body.items() if name != missing}):
        assert store.ask("POST", "/v3/orders/1001/metafields", changed)[0] == 422
    assert store.get("/v3/orders/1001/metafields")["data"] == []


# ---------------------------------------------------------------- at the door


@pytest.mark.parametrize(
    ("_case", "path", "headers", "wanted"),
    [
        ("no token", "/v3/hooks", {"x_auth_token": ""}, 401),
        ("a wrong token, v2", "/v2/orders", {"x_auth_token": "nobody"}, 401),
        ("another store", "/stores/elsewhere/v2/orders", {}, 401),
        ("any media type", "/v2/orders", {"accept": "*/*"}, 406),
        ("XML", "/v2/orders", {"accept": "application/xml"}, 406),
        ("no such path, v2", "/v2/customers", {}, 404),
        ("no such path, v3", "/v3/orders", {}, 404),
        ("no such order, v2", "/v2/orders/1", {}, 404),
        ("an order that is no number", "/v2/orders/x", {}, 404),
        ("no such order, v3", "/v3/orders/1/transactions", {}, 404),
    ],
)
def test_who_may_not_call_or_asks_wrongly_is_told_in_the_versions_own_shape(
    store: Store, _case: str, path: str, headers: dict[str, str], wanted: int
) -> None:
    status, error = store.ask("GET", path, **headers)
    assert status == wanted
    if "/v2/" in path:
        assert [sorted(each) for each in error] == [["message", "status"]]
    else:
        assert (error["status"], set(error) >= {"title", "type"}) == (wanted, True)


def test_bodies_are_json_and_say_so(store: Store) -> None:
    status, _ = store.ask("PUT", "/v2/orders/1001", {"status_id": 5}, content_type="text/plain")
    assert status == 415
    assert store.ask("POST", "/v3/orders/1001/payment_actions/refunds", b"{")[0] == 400
    assert store.book() == []


def test_an_account_reaches_only_what_its_scopes_open(store: Store) -> None:
    store.set(accounts=[{"token": "reader", "scopes": ["store_v2_orders_read_only"]}])
    reads = [
        store.ask("GET", path, x_auth_token="reader")[0]
        for path in ("/v2/orders/1001", "/v3/orders/1001/payment_actions/refunds", "/v3/hooks")
    ]
    closed = [
        store.ask("PUT", "/v2/orders/1001", {"status_id": 5}, x_auth_token="reader")[0],
        store.ask("POST", "/v3/orders/1001/payment_actions/void", x_auth_token="reader")[0],
        store.ask("GET", "/v3/orders/1001/transactions", x_auth_token="reader")[0],
        store.ask("GET", "/v3/settings/inventory", x_auth_token="reader")[0],
    ]
    assert (reads, closed, store.book()) == ([200, 200, 200], [403] * 4, [])


def test_the_quota_is_counted_told_and_kept(store: Store) -> None:
    store.set(habits={"quota": 2})
    answers = [store.call("GET", "/v2/orders/1001") for _ in range(2)]
    store.now += timedelta(seconds=20)
    answers += [store.call("PUT", "/v2/orders/1001", {"status_id": 5})]
    assert all(isinstance(each, Answer) for each in answers)
    told = [
        (x.status, x.headers["X-Rate-Limit-Requests-Left"], x.headers["X-Rate-Limit-Time-Reset-Ms"])
        for x in answers
        if isinstance(x, Answer)
    ]

    assert told == [(200, "1", "30000"), (200, "0", "30000"), (429, "0", "10000")]
    assert store.book() == []
    store.now += timedelta(seconds=10)
    assert store.put({"status_id": 5})[0] == 200


def test_a_429_fault_is_platform_load_without_quota_headers(store: Store) -> None:
    store.fault(Kind.STATUS, status=429)
    answer = store.call("GET", "/v3/hooks")
    assert isinstance(answer, Answer)
    assert (answer.status, dict(answer.headers)) == (429, {})


# ---------------------------------------------------------------- faults


REFUND_BODY = {
    "items": [{"item_type": "ORDER", "item_id": 1001, "amount": 10}],
    "payments": [{"provider_id": "stripe", "amount": 10}],
}
EFFECTS = [
    ("update_order", "PUT", "/v2/orders/1001", {"status_id": 5}, 400),
    ("create_refund", "POST", "/v3/orders/1001/payment_actions/refunds", REFUND_BODY, 422),
    (
        "quote_refund",
        "POST",
        "/v3/orders/1001/payment_actions/refund_quotes",
        {"items": REFUND_BODY["items"]},
        422,
    ),
    ("void_payment", "POST", "/v3/orders/1001/payment_actions/void", None, 422),
    ("create_metafield", "POST", "/v3/orders/1001/metafields", {}, 409),
    ("adjust_inventory", "POST", "/v3/inventory/adjustments/relative", {"items": []}, 422),
    ("get_order", "GET", "/v2/orders/1001", None, 404),
]


@pytest.mark.parametrize(("operation", "method", "path", "body", "wanted"), EFFECTS)
def test_every_effect_has_a_permanent_refusal_of_its_own(
    store: Store, operation: str, method: str, path: str, body: Any, wanted: int
) -> None:
    store.fault(Kind.REFUSE, operation)
    assert store.ask(method, path, body)[0] == wanted
    store.fault(Kind.REFUSE_AUTH, operation)
    assert store.ask(method, path, body)[0] == 401
    assert (store.book(), store.world.faults.waiting()) == ([], [])


def test_a_refusal_can_be_named(store: Store) -> None:
    store.fault(Kind.REFUSE, "create_refund", code="not_settled")
    status, answer = store.pay_back(10)
    assert (status, answer["data"][0]["errors"]) == (422, {"code": "not_settled"})
    store.fault(Kind.REFUSE, "create_refund", code="forbidden")
    assert store.pay_back(10)[0] == 403


def test_a_503_of_the_refund_api_comes_inside_data(store: Store) -> None:
    store.fault(Kind.STATUS, "create_refund", status=503)
    store.fault(Kind.STATUS, "get_order", status=503)
    status, answer = store.pay_back(10)

    assert (status, answer["data"][0]["order_id"], answer["data"][0]["status"]) == (503, 1001, 503)
    assert store.ask("GET", "/v2/orders/1001")[1][0]["status"] == 503
    assert store.book() == []


def test_a_lost_reply_leaves_a_refund_that_is_found_by_its_reason(store: Store) -> None:
    store.fault(Kind.LOST_REPLY, "create_refund")
    body = {
        **REFUND_BODY,
        "items": [{"item_type": "ORDER", "item_id": 1001, "amount": 10, "reason": REFERENCE}],
    }
    assert isinstance(store.call("POST", "/v3/orders/1001/payment_actions/refunds", body), Cut)
    assert [item["reason"] for refund in store.refunds() for item in refund["items"]] == [REFERENCE]
    assert store.book() == [("refund", 1000)]


def test_a_500_after_the_act_lies_about_a_refund_that_was_made(store: Store) -> None:
    store.fault(Kind.STATUS, "create_refund", status=502, is_after_effect=True)
    assert (store.pay_back(10)[0], len(store.refunds()), store.book()) == (502, 1, [("refund", 1000)])


# ---------------------------------------------------------------- hooks and events


HOOK = {"scope": "store/order/statusUpdated", "destination": "https://refundflow.example/hooks"}


@pytest.mark.parametrize(
    ("_case", "change", "wanted"),
    [
        ("as it should be", {"headers": {"X-Refundflow-Token": "s"}, "is_active": True}, 200),
        ("port 443 said", {"destination": "https://refundflow.example:443/hooks"}, 200),
        ("all of a kind", {"scope": "store/order/*"}, 200),
        ("another port", {"destination": "https://refundflow.example:8443/hooks"}, 422),
        ("no TLS", {"destination": "http://refundflow.example/hooks"}, 422),
        ("an unknown scope", {"scope": "store/order/cancelled"}, 422),
        ("headers that are no texts", {"headers": {"X-Refundflow-Token": 1}}, 422),
    ],
)
def test_hooks_go_to_https_on_port_443(store: Store, _case: str, change: dict[str, Any], wanted: int) -> None:
    assert store.ask("POST", "/v3/hooks", {**HOOK, **change})[0] == wanted


def test_hooks_are_seen_only_by_the_token_that_made_them_and_can_be_set_active_again(store: Store) -> None:
    store.set(accounts=[{"token": "other"}])
    hook = store.ask("POST", "/v3/hooks", HOOK)[1]["data"]
    store.world.settle("bigcommerce", {"hook": hook["id"], "is_active": False})

    assert [x["is_active"] for x in store.get("/v3/hooks", scope=HOOK["scope"])["data"]] == [False]
    assert store.get("/v3/hooks", is_active="true")["data"] == []
    assert store.ask("GET", f"/v3/hooks/{hook['id']}", x_auth_token="other")[0] == 404
    assert store.ask("GET", "/v3/hooks", x_auth_token="other")[1]["data"] == []
    status, changed = store.ask("PUT", f"/v3/hooks/{hook['id']}", {"is_active": True})
    assert (status, changed["data"]["is_active"], changed["data"]["scope"]) == (200, True, HOOK["scope"])


def listen(store: Store, *topics: str) -> None:
    subscription = Subscription("https://refundflow.example/hooks", CLIENT_SECRET, topics=topics)
    store.world.webhooks.subscribe("bigcommerce", subscription)


def heard(store: Store) -> list[dict[str, Any]]:
    store.world.webhooks.wait_idle()
    return [json.loads(body) for _, body in store.deliveries]


def test_a_cancellation_is_told_with_both_statuses_signed_and_with_our_own_header(store: Store) -> None:
    listen(store, "store/order/statusUpdated")
    store.put({"status_id": 5})
    store.put({"status_id": 5})
    events = heard(store)

    assert [each["data"] for each in events] == [
        {"type": "order", "id": 1001, "status": {"previous_status_id": 11, "new_status_id": 5}}
    ]
    assert (events[0]["producer"], events[0]["scope"]) == (
        f"stores/{STORE_HASH}",
        "store/order/statusUpdated",
    )
    headers, body = store.deliveries[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(CLIENT_SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers.items() >= HOOK_HEADERS.items()


def test_a_refund_tells_refund_transaction_and_status(store: Store) -> None:
    listen(store)
    refund = store.pay_back(10)[1]["data"]
    events = heard(store)

    assert [each["scope"] for each in events] == [
        "store/order/refund/created",
        "store/order/transaction/created",
        "store/order/statusUpdated",
        "store/order/updated",
    ]
    assert events[0]["data"] == {"type": "order", "id": 1001, "refund": {"refund_id": refund["id"]}}
    assert len({each["hash"] for each in events}) == 4


def test_stock_that_comes_back_by_the_setting_is_told(store: Store) -> None:
    listen(store, "store/product/inventory/order/updated")
    store.put({"status_id": 5})
    assert [each["data"]["inventory"]["value"] for each in heard(store)] == [5, 1]


def test_a_hook_that_was_set_inactive_tells_nothing(store: Store) -> None:
    hook = store.ask("POST", "/v3/hooks", HOOK)[1]["data"]
    listen(store, HOOK["scope"])
    store.world.settle("bigcommerce", {"hook": hook["id"], "is_active": False})
    store.put({"status_id": 5})
    assert heard(store) == []


def test_a_hooks_own_headers_go_out_with_its_events(store: Store) -> None:
    store.ask("POST", "/v3/hooks", {**HOOK, "headers": {"X-Refundflow-Token": "mine"}})
    event = store.vendor.event_for("store/order/statusUpdated", "1001")
    signed = store.vendor.sign(event, HOOK["destination"], CLIENT_SECRET)
    assert signed.headers["X-Refundflow-Token"] == "mine"


def test_an_event_asked_for_twice_is_the_same_event(store: Store) -> None:
    refund = str(store.pay_back(10)[1]["data"]["id"])
    for topic, id in (
        ("store/order/statusUpdated", "1001"),
        ("store/order/updated", "1001"),
        ("store/order/archived", "1001"),
        ("store/order/refund/created", refund),
        ("store/order/refund/created", "1001"),
        ("store/order/transaction/created", store.refunds()[0]["payments"][0]["transaction_id"]),
    ):
        first = store.vendor.event_for(topic, id)
        assert (first.topic, store.vendor.event_for(topic, id)) == (topic, first)
    for topic, id in (("store/order/made", "1001"), ("store/order/updated", "1")):
        with pytest.raises(NoSuchObjectError):
            store.vendor.event_for(topic, id)


def test_an_event_about_a_seeded_refund_can_be_asked_for(store: Store) -> None:
    made = store.seed(id=1002, lines=[{"unit_minor": 900}], refunds=[{"amount_minor": 100}])
    for id in ("1002", str(made["refunds"][0])):
        event = store.vendor.event_for("store/order/refund/created", id)
        assert event.body["data"]["refund"]["refund_id"] == made["refunds"][0]
    for topic, id in (("store/order/refund/created", "1001"), ("store/order/transaction/created", "1")):
        with pytest.raises(NoSuchObjectError):
            store.vendor.event_for(topic, id)


def test_the_signature_is_that_of_the_vectors() -> None:
    vectors = load(specs("bigcommerce") / "webhook_signature_vectors.json")["vectors"]
    for vector in vectors:
        at = int(vector["webhook-timestamp"])
        world = World([BigCommerce], clock=lambda at=at: datetime.fromtimestamp(at, UTC))  # type: ignore[misc]  # bound now
        event = Event(vector["webhook-id"], HOOK["scope"], vector["body"].encode())
        headers = world.vendor("bigcommerce").sign(event, "", vector["client_secret"]).headers
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            assert headers[name] == vector[name]
    assert len(vectors) == 2


# ---------------------------------------------------------------- at the controls


def test_a_person_in_the_control_panel_cancels_refunds_and_ships(store: Store) -> None:
    store.set(habits={"api_adjusts_stock_on": []})
    store.seed(id=1002, lines=[{"id": 20, "sku": "MUG", "unit_minor": 900}])
    store.world.settle("bigcommerce", {"order": 1002, "ship": "all"})
    assert store.status(1002)[0] == 2
    store.world.settle("bigcommerce", {"order": 1001, "panel_refund": {"reason": "by hand"}})
    assert store.status() == (4, "refunded")
    store.world.settle("bigcommerce", {"order": 1001, "status_id": 5})

    assert store.book() == [("refund", 5250), ("restock", None), ("restock", None), ("cancel_order", None)]
    assert {line["by"] for line in store.vendor.book.lines("refund")} == {"control_panel"}
    with pytest.raises(ValueError, match="control panel would refuse"):
        store.world.settle("bigcommerce", {"order": 1001, "panel_refund": {}})


def test_a_dispute_is_status_13(store: Store) -> None:
    listen(store, "store/order/statusUpdated")
    store.world.settle("bigcommerce", {"order": 1001, "status_id": 13})
    assert [each["data"]["status"]["new_status_id"] for each in heard(store)] == [13]


def test_seeded_history_is_not_in_the_book(store: Store) -> None:
    listen(store)
    made = store.seed(
        number="1002",
        lines=[{"unit_minor": 900, "quantity": 2}],
        refunds=[{"amount_minor": 500, "reason": "long ago"}, {"amount_minor": 300, "is_declined": True}],
    )

    assert (made["id"], made["number"], made["total_minor"], len(made["refunds"])) == (1002, "1002", 1800, 2)
    assert [
        (x["total_amount"], x["items"][0]["reason"], x["payments"][0]["is_declined"])
        for x in store.refunds(1002)
    ] == [(5, "long ago", False), (3, "", True)]
    assert store.status(1002) == (14, "partially refunded")
    assert (store.book(), heard(store)) == ([], [])


@pytest.mark.parametrize(
    "data",
    [
        {"order": []},
        {"habits": {"mood": 1}},
        {"inventory": {"mood": 1}},
        {"orders": [{"lines": []}]},
        {"orders": [{"id": "A-1", "lines": [{"unit_minor": 1}]}]},
        {"orders": [{"id": 1, "number": "2", "lines": [{"unit_minor": 1}]}]},
        {"orders": [{"currency": "BHD", "lines": [{"unit_minor": 1}]}]},
        {"orders": [{"lines": [{"unit_minor": 1, "location": 9}]}]},
        {"orders": [{"lines": [{"unit_minor": 1}], "refunds": [{"items": [{"item_type": "LINE"}]}]}]},
    ],
)
def test_what_cannot_be_seeded_is_said(store: Store, data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        store.world.seed({"bigcommerce": data})


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"order": 1}, NoSuchObjectError),
        ({"refund": 1, "status": "declined"}, NoSuchObjectError),
        ({"stock": "GONE"}, NoSuchObjectError),
        ({"hook": 1, "is_active": True}, NoSuchObjectError),
        ({"order": 1001, "void": "succeeded"}, ValueError),
        ({"order": 1001, "ship": {"1": 1}}, ValueError),
        ({"mood": 1}, ValueError),
    ],
)
def test_what_cannot_be_settled_is_said(store: Store, data: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        store.world.settle("bigcommerce", data)
    assert store.book() == []


def test_a_reset_forgets_everything_and_ids_begin_elsewhere(store: Store) -> None:
    store.pay_back(10)
    store.world.reset()
    assert (store.book(), store.ask("GET", "/v2/orders/1001")[0]) == ([], 404)


def test_yen_have_no_decimals(store: Store) -> None:
    store.seed(id=1002, currency="JPY", lines=[{"unit_minor": 1200}], payments=[{"gateway": "stripe"}])
    assert store.get("/v2/orders/1002")["total_inc_tax"] == "1200.0000"
    assert (store.pay_back(12.5, 1002)[0], store.pay_back(1200, 1002)[0]) == (422, 201)
    assert [(x["amount_minor"], x["currency"]) for x in store.vendor.book.lines("refund")] == [(1200, "JPY")]


# ---------------------------------------------------------------- the published descriptions


def test_every_answer_fits_the_published_description(store: Store) -> None:
    folder = specs("bigcommerce")
    v2, v3 = folder / "orders.v2.openapi.json", folder / "orders.v3.openapi.json"
    stock, settings = folder / "inventory.v3.openapi.json", folder / "settings-inventory.v3.openapi.json"
    hooks = folder / "webhooks.v3.openapi.json"
    store.seed(
        id=1002,
        lines=[{"unit_minor": 900, "shipped": 1, "discount_minor": 100}],
        payments=[{"gateway": "stripe", "is_captured": False}],
    )
    refund = store.refund(everything(store), [{"provider_id": "stripe", "amount": 52.5}])
    hook = store.ask("POST", "/v3/hooks", {**HOOK, "headers": {"X-Refundflow-Token": "s"}})
    actions, one = "/orders/{order_id}/payment_actions", "/orders/1001/payment_actions"
    sent = [
        (v3, "POST", f"{actions}/refunds", refund),
        (v3, "POST", f"{actions}/refund_quotes", store.quote(REFUND_BODY["items"][0], order=1001)),
        (v3, "POST", f"{actions}/void", store.ask("POST", "/v3/orders/1002/payment_actions/void")),
        (v3, "POST", f"{actions}/void", store.ask("POST", "/v3/orders/1002/payment_actions/void")),
        (v3, "POST", "/orders/{order_id}/metafields", store.claim()),
        (v3, "POST", "/orders/{order_id}/metafields", store.claim()),
        (
            stock,
            "POST",
            "/inventory/adjustments/relative",
            store.adjust({"location_id": 1, "sku": "POSTER", "quantity": 1}),
        ),
        (stock, "POST", "/inventory/adjustments/relative", store.adjust()),
        (hooks, "POST", "/hooks", hook),
        (hooks, "PUT", "/hooks/{webhook_id}", store.ask("PUT", f"/v3/hooks/{hook[1]['data']['id']}", {})),
        (v2, "PUT", "/orders/{order_id}", store.put({"status_id": 5})),
    ]
    refund_id = refund[1]["data"]["id"]
    reads = [
        (v2, "/orders/{order_id}", "/v2/orders/1001"),
        (v2, "/orders/{order_id}", "/v2/orders/1"),
        (v2, "/orders", "/v2/orders"),
        (v2, "/orders/{order_id}/products", "/v2/orders/1002/products"),
        (v2, "/orders/{order_id}/shipments", "/v2/orders/1002/shipments"),
        (v2, "/orders/{order_id}/shipping_addresses", "/v2/orders/1001/shipping_addresses"),
        (v2, "/order_statuses", "/v2/order_statuses"),
        (v3, f"{actions}/refunds", f"/v3{one}/refunds"),
        (v3, "/orders/payment_actions/refunds", "/v3/orders/payment_actions/refunds"),
        (
            v3,
            "/orders/payment_actions/refunds/{refund_id}",
            f"/v3/orders/payment_actions/refunds/{refund_id}",
        ),
        (v3, "/orders/{order_id}/transactions", "/v3/orders/1001/transactions"),
        (v3, "/orders/{order_id}/metafields", "/v3/orders/1001/metafields"),
        (stock, "/inventory/items", "/v3/inventory/items"),
        (stock, "/inventory/locations/{location_id}/items", "/v3/inventory/locations/1/items"),
        (settings, "/settings/inventory", "/v3/settings/inventory"),
        (hooks, "/hooks", "/v3/hooks"),
        (hooks, "/hooks/{webhook_id}", f"/v3/hooks/{hook[1]['data']['id']}"),
    ]
    for path, template, url in reads:
        status, body = store.ask("GET", url)
        check_response(path, "GET", template, status, body, declared_only=status == 200)
    for path, method, template, (status, body) in sent:
        check_response(path, method, template, status, body)
    assert [status for _, _, _, (status, _) in sent] == [
        *(201, 422, 201, 422, 200, 409, 200, 422, 200, 200, 200)
    ]


@pytest.mark.parametrize(
    ("topic", "schema"),
    [
        ("store/order/statusUpdated", "callback_store_order_statusUpdated"),
        ("store/order/updated", "callback_store_order_updated"),
        ("store/order/archived", "callback_store_order_archived"),
        ("store/order/refund/created", "callback_store_order_refund_created"),
    ],
)
def test_events_fit_their_published_callbacks(store: Store, topic: str, schema: str) -> None:
    store.pay_back(10)
    event = store.vendor.event_for(topic, "1001")
    described = specs("bigcommerce") / "webhooks.v3.openapi.json"
    check_document(described, event.body, f"/components/schemas/{schema}")
    transaction = store.refunds()[0]["payments"][0]["transaction_id"]
    told = store.vendor.event_for("store/order/transaction/created", transaction)
    check_document(described, told.body, "/components/schemas/callback_store_order_transaction_created")
