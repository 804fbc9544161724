"""The practice WooCommerce: its traps, what it refuses and what it lets pass, its stock, and what it notes in its book."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Iterator, Mapping
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
    Record,
    Subscription,
    World,
)
from refundflow.sandbox.woocommerce import (
    CONSUMER_KEY,
    CONSUMER_SECRET,
    FAILURES_BORNE,
    READ_KEY,
    READ_SECRET,
    WooCommerce,
)
from tests.support.specs import check_document, load, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
URL = "https://refundflow.example/hooks/woocommerce"
# 2 × 15.00 and 5.21 without tax, 6.69 tax in all, 4.90 shipping: 46.80 EUR.
ORDER: Record = {
    "id": 723,
    "number": "WC-1042",
    "email": "ada@example.com",
    "shipping_minor": 490,
    "lines": [
        {
            "id": 315,
            "sku": "MUG",
            "product_id": 93,
            "quantity": 2,
            "unit_minor": 1500,
            "tax_minor": 570,
            "stock": 8,
        },
        {
            "id": 316,
            "sku": "PEN",
            "product_id": 94,
            "quantity": 1,
            "unit_minor": 521,
            "tax_minor": 99,
            "stock": 3,
        },
    ],
    "payments": [{"gateway": "stripe", "transaction_id": "ch_1"}],
}
META = [{"key": "_refundflow_op", "value": "op_1"}]
REFUND: Record = {
    "amount": "10.00",
    "reason": "refundflow op_1",
    "api_refund": False,
    "api_restock": False,
    "meta_data": META,
}
LINES = [
    {"id": 315, "quantity": 2, "refund_total": 30.0, "refund_tax": [{"id": 1, "refund_total": 5.7}]},
    {"id": 316, "quantity": 1, "refund_total": 5.21, "refund_tax": [{"id": 1, "refund_total": 0.99}]},
]


def basic(key: str = CONSUMER_KEY, secret: str = CONSUMER_SECRET) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()}


class Shop:
    """A practice shop with one paid order, and a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()
        self.status = 200
        self.world = World([WooCommerce], clock=lambda: self.now, send=self._receive)
        vendor = self.world.vendor("woocommerce")
        assert isinstance(vendor, WooCommerce)
        self.vendor = vendor
        self.seed(orders=[ORDER])

    def _receive(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.put((url, dict(headers), body))
        return self.status

    def seed(self, **data: Any) -> Record:
        return self.world.seed({"woocommerce": data})["woocommerce"]

    def order(self, id: int, **changes: Any) -> Record:
        """A further order like the first, with lines and SKUs of its own."""
        lines = [
            {key: value for key, value in line.items() if key not in ("id", "product_id")}
            | {"sku": f"{line['sku']}{id}"}
            for line in ORDER["lines"]
        ]
        made: Record = self.seed(orders=[{**ORDER, "lines": lines, "id": id, "number": str(id), **changes}])[
            "orders"
        ][0]
        return made

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, **query: Any
    ) -> Answer:
        sent = dict(basic() if headers is None else headers)
        if body is not None:
            sent.setdefault("content-type", "application/json")
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        path = path if path.startswith("/wp-json") else f"/wp-json/wc/v3/{path}"
        answer = self.world.receive(
            "woocommerce", Call(method, path, urlencode(query, doseq=True), sent, raw)
        )
        assert isinstance(answer, Answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        answer = self.call("GET", path, **query)
        assert answer.status == 200
        return answer.body

    def cancel(self, id: int = 723) -> Answer:
        return self.call("PUT", f"orders/{id}", {"status": "cancelled", "meta_data": META})

    def refund(self, id: int = 723, **changes: Any) -> Answer:
        sent = {key: value for key, value in {**REFUND, **changes}.items() if value is not ...}
        return self.call("POST", f"orders/{id}/refunds", sent)

    def fault(self, kind: Kind, **more: Any) -> None:
        self.world.faults.add(Fault(kind, **more))

    def settle(self, **data: Any) -> Record:
        return self.world.settle("woocommerce", data)[0]

    def stock(self, sku: str) -> Any:
        return self.settle(sku=sku)["stock_quantity"]

    @property
    def book(self) -> list[tuple[Any, ...]]:
        """Effect, id and what it was about: amount or quantity or status."""
        return [
            (line["effect"], line["id"], line["amount_minor"] or line.get("quantity") or line.get("status"))
            for line in self.vendor.book.lines()
        ]

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.vendor.book.lines()]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def error_of(answer: Answer) -> tuple[int, Any, Any]:
    data = answer.body["data"]
    return answer.status, answer.body["code"], data["status"] if isinstance(data, dict) else data


# ---------------------------------------------------------------- who may call


@pytest.mark.parametrize(
    ("_case", "headers", "method", "wanted"),
    [
        ("nobody", {}, "GET", (401, "woocommerce_rest_cannot_view", 401)),
        ("an unknown key", basic("ck_other"), "PUT", (401, "woocommerce_rest_cannot_edit", 401)),
        ("a wrong secret", basic(secret="cs_x"), "GET", (401, "woocommerce_rest_authentication_error", 401)),
        (
            "a bearer token",
            {"authorization": "Bearer ck_practice"},
            "GET",
            (401, "woocommerce_rest_cannot_view", 401),
        ),
        ("broken base64", {"authorization": "Basic %%%"}, "GET", (401, "woocommerce_rest_cannot_view", 401)),
        (
            "a key that may only read",
            basic(READ_KEY, READ_SECRET),
            "PUT",
            (401, "woocommerce_rest_authentication_error", 401),
        ),
    ],
)
def test_a_caller_without_the_right_is_refused_and_nothing_happens(
    shop: Shop, _case: str, headers: dict[str, str], method: str, wanted: tuple[int, str, int]
) -> None:
    body = {"status": "cancelled"} if method == "PUT" else None
    assert error_of(shop.call(method, "orders/723", body, headers)) == wanted
    assert shop.book == []


def test_a_key_may_come_in_the_query_and_must_where_the_host_drops_the_header(shop: Shop) -> None:
    query = {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
    assert shop.call("GET", "orders/723", headers={}, **query).status == 200
    assert shop.call("GET", "orders/723", headers=basic(READ_KEY, READ_SECRET)).status == 200
    shop.seed(settings={"strips_authorization": True})
    assert error_of(shop.call("GET", "orders/723"))[1] == "woocommerce_rest_cannot_view"
    assert shop.call("GET", "orders/723", headers={}, **query).status == 200


def test_a_seeded_key_works(shop: Shop) -> None:
    shop.seed(keys=[{"key": "ck_2", "secret": "cs_2", "permissions": "write"}])
    assert shop.call("GET", "orders/723", headers=basic("ck_2", "cs_2")).status == 401
    assert shop.call("PUT", "orders/723", {}, basic("ck_2", "cs_2")).status == 200


def test_unknown_paths_are_told_as_such_and_without_permalinks_there_is_no_api(shop: Shop) -> None:
    for path in ("/wp-json/wc/v2/orders/723", "orders/WC-1042", "coupons", "refunds"):
        assert error_of(shop.call("GET", path)) == (404, "rest_no_route", 404)
    assert shop.call("GET", "orders/723/").status == 200
    shop.seed(settings={"has_permalinks": False})
    page = shop.call("GET", "orders/723")
    assert (page.status, page.content_type) == (404, "text/html")


# ---------------------------------------------------------------- reading


def test_an_order_shows_decimal_strings_in_places_of_the_shop_and_not_of_the_currency(shop: Shop) -> None:
    order = shop.get("orders/723")
    assert (order["total"], order["total_tax"], order["shipping_total"]) == ("46.80", "6.69", "4.90")
    assert (order["number"], order["transaction_id"], order["payment_method"]) == (
        "WC-1042",
        "ch_1",
        "stripe",
    )
    assert order["date_paid_gmt"] == "2026-11-22T12:00:00"
    mug = order["line_items"][0]
    assert (mug["id"], mug["product_id"], mug["total"], mug["price"]) == (315, 93, "30.00", 15.0)
    assert mug["taxes"] == [{"id": 1, "total": "5.70", "subtotal": "5.70"}]
    assert [(each["key"], each["value"]) for each in mug["meta_data"]] == [("_reduced_stock", "2")]

    plain = {"shipping_minor": 0, "payments": []}
    shop.order(800, currency="JPY", lines=[{"unit_minor": 1200}], **plain)
    shop.order(801, currency="KWD", lines=[{"unit_minor": 1235}], **plain)
    assert shop.get("orders/800")["total"] == "1200.00"
    assert (shop.get("orders/801")["total"], shop.get("orders/801", dp=3)["total"]) == ("1.24", "1.235")


def test_payments_show_through_paid_date_and_transaction(shop: Shop) -> None:
    shop.order(800, payments=[{"status": "authorised", "transaction_id": "ch_2"}])
    shop.order(801, payments=[])
    held, unpaid = shop.get("orders/800"), shop.get("orders/801")
    assert (held["status"], held["date_paid_gmt"], held["transaction_id"]) == ("on-hold", None, "ch_2")
    assert (unpaid["status"], unpaid["date_paid_gmt"], unpaid["transaction_id"]) == ("pending", None, "")


def test_a_missing_order_is_404_when_read_and_400_when_written(shop: Shop) -> None:
    code = "woocommerce_rest_shop_order_invalid_id"
    assert error_of(shop.call("GET", "orders/9")) == (404, code, 404)
    assert error_of(shop.cancel(9)) == (400, code, 400)


def test_lists_are_filtered_paged_and_counted(shop: Shop) -> None:
    for id in (801, 802, 803):
        shop.order(
            id, status="cancelled" if id == 802 else "processing", created=f"2026-11-20T0{id - 800}:00:00"
        )
    shop.order(804, status="trash")

    def ids(**query: Any) -> list[int]:
        return [each["id"] for each in shop.get("orders", **query)]

    assert ids() == [723, 803, 802, 801]
    assert ids(orderby="id", order="asc") == [723, 801, 802, 803]
    assert ids(status="cancelled,trash", orderby="id") == [804, 802]
    assert ids(**{"status[]": ["cancelled", "refunded"]}) == [802]
    assert ids(include="801,803") == [803, 801]
    assert ids(after="2026-11-20T02:00:00", dates_are_gmt="true") == [723, 803]
    # Everything that it does not know is ignored, also what looks like a filter.
    assert ids(number="WC-1042") == [723, 803, 802, 801]
    page = shop.call("GET", "orders", per_page=3, page=2)
    assert ([each["id"] for each in page.body], dict(page.headers)) == (
        [801],
        {"X-WP-Total": "4", "X-WP-TotalPages": "2"},
    )
    assert ids(page=9) == []


def test_a_search_finds_parts_so_numbers_must_be_compared(shop: Shop) -> None:
    shop.order(800, number="1042")
    shop.order(801, number="10421", email="eve@example.com")
    assert {each["number"] for each in shop.get("orders", search="1042")} == {"WC-1042", "1042", "10421"}
    assert [each["id"] for each in shop.get("orders", search="EVE@")] == [801]


def test_changes_are_filtered_in_the_shops_own_time_unless_told_otherwise(shop: Shop) -> None:
    shop.call("PUT", "orders/723", {})  # at 12:00 UTC, 14:00 in the shop

    def is_found(after: str, **more: Any) -> bool:
        return bool(shop.get("orders", modified_after=after, **more))

    assert is_found("2026-11-23T13:59:59")
    assert not is_found("2026-11-23T14:00:00")
    assert is_found("2026-11-23T11:59:59", dates_are_gmt="true")
    assert not is_found("2026-11-23T12:00:00", dates_are_gmt="true")
    # With an offset it is the shop's own time again, and compared with UTC: two hours of changes are missed.
    assert not is_found("2026-11-23T11:59:59Z", dates_are_gmt="true")
    order = shop.get("orders/723")
    assert (order["date_modified"], order["date_modified_gmt"]) == (
        "2026-11-23T14:00:00",
        "2026-11-23T12:00:00",
    )


@pytest.mark.parametrize(
    "query",
    [
        {"status": "canceled"},
        {"per_page": 101},
        {"page": 0},
        {"orderby": "total"},
        {"order": "down"},
        {"modified_after": "2026-11-23"},
        {"modified_after": "2026-13-23T00:00:00"},
        {"dates_are_gmt": "yes"},
    ],
)
def test_a_filter_with_a_wrong_value_is_refused_by_name(shop: Shop, query: dict[str, Any]) -> None:
    answer = shop.call("GET", "orders", **query)
    assert error_of(answer) == (400, "rest_invalid_param", 400)
    assert list(answer.body["data"]["params"]) == list(query)


# ---------------------------------------------------------------- cancelling


def test_a_cancel_restores_stock_once_keeps_the_money_and_is_in_the_book(shop: Shop) -> None:
    answer = shop.cancel()

    assert (answer.status, answer.body["status"], answer.body["refunds"]) == (200, "cancelled", [])
    assert [(each["key"], each["value"]) for each in answer.body["meta_data"]] == [("_refundflow_op", "op_1")]
    assert shop.book == [("cancel_order", "723", None), ("restock", "315", 2), ("restock", "316", 1)]
    first, second, _ = shop.vendor.book.lines()
    assert first["target"] == {"order": "723", "number": "WC-1042", "payment": "ch_1"}
    assert (second["sku"], second["quantity"], second["target"]["order"]) == ("MUG", 2, "723")
    assert first["reference"] == second["reference"] == {"_refundflow_op": "op_1"}
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)
    assert answer.body["line_items"][0]["meta_data"] == []

    assert shop.cancel().status == 200
    assert len(shop.book) == 3
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)


@pytest.mark.parametrize("status", ["pending", "on-hold", "completed", "refunded", "failed", "trash"])
def test_no_status_is_protected_from_being_cancelled(shop: Shop, status: str) -> None:
    shop.order(800, status=status)
    assert shop.cancel(800).body["status"] == "cancelled"
    assert shop.effects.count("cancel_order") == 1


@pytest.mark.parametrize(
    ("_case", "body"),
    [
        ("one l", {"status": "canceled"}),
        ("trash", {"status": "trash"}),
        ("no text", {"status": 5}),
        ("meta without value", {"status": "cancelled", "meta_data": [{"key": "a"}]}),
        ("meta as an object", {"status": "cancelled", "meta_data": {"a": 1}}),
    ],
)
def test_a_wrong_update_is_refused_and_changes_nothing(shop: Shop, _case: str, body: Record) -> None:
    assert error_of(shop.call("PUT", "orders/723", body)) == (400, "rest_invalid_param", 400)
    assert shop.book == []


def test_a_body_without_its_content_type_is_not_read_and_a_broken_one_is_refused(shop: Shop) -> None:
    body = json.dumps({"status": "cancelled"}).encode()
    answer = shop.call("PUT", "orders/723", body, basic() | {"content-type": "text/plain"})
    assert (answer.status, answer.body["status"]) == (200, "processing")
    assert error_of(shop.call("PUT", "orders/723", b"{")) == (400, "rest_invalid_json", 400)
    assert shop.book == []


def test_an_uncaptured_payment_is_released_behind_the_back_of_a_cancel(shop: Shop) -> None:
    shop.order(800, payments=[{"status": "authorised", "transaction_id": "ch_2"}])
    shop.cancel(800)
    shop.cancel(800)
    (void,) = shop.vendor.book.lines("void")
    assert (void["id"], void["amount_minor"], void["currency"]) == ("ch_2", 4680, "EUR")
    assert void["target"] == {"order": "800", "number": "800", "payment": "ch_2"}


def test_a_shop_can_be_set_to_keep_authorisations_and_a_captured_payment_is_never_released(
    shop: Shop,
) -> None:
    shop.cancel()
    shop.seed(settings={"releases_on_cancel": False})
    shop.order(800, payments=[{"status": "authorised"}])
    shop.cancel(800)
    assert shop.vendor.book.lines("void") == []


def test_a_status_set_to_refunded_writes_the_rest_down_and_pays_nobody(shop: Shop) -> None:
    shop.refund(amount="6.80")
    body = shop.call("PUT", "orders/723", {"status": "refunded"}).body

    assert [each["total"] for each in body["refunds"]] == ["-40.00", "-6.80"]
    assert [line for line in shop.book if "refund" in line[0]] == [
        ("record_refund", str(body["refunds"][1]["id"]), 680),
        ("record_refund", str(body["refunds"][0]["id"]), 4000),
    ]
    assert (shop.vendor.book.lines("restock"), shop.stock("MUG")) == ([], 8)


def test_stock_is_taken_again_when_a_cancelled_order_comes_back(shop: Shop) -> None:
    shop.cancel()
    shop.call("PUT", "orders/723", {"status": "processing"})
    assert shop.book[3:] == [
        ("set_status", "723", "processing"),
        ("reduce_stock", "315", 2),
        ("reduce_stock", "316", 1),
    ]
    assert (shop.stock("MUG"), shop.stock("PEN")) == (8, 3)
    shop.cancel()
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)


def test_unmanaged_products_untouched_lines_and_vetoed_stock_never_rise(shop: Shop) -> None:
    lines = [
        {"sku": "PDF", "unit_minor": 100, "manages_stock": False},
        {"sku": "CAP", "unit_minor": 100, "quantity": 3, "reduced": 1, "stock": 5},
    ]
    shop.order(800, lines=lines)
    shop.cancel(800)
    assert [line[2] for line in shop.book if line[0] == "restock"] == [1]
    assert (shop.stock("PDF"), shop.stock("CAP")) == (None, 6)
    shop.seed(settings={"restores_stock": False})
    shop.cancel()
    assert (shop.effects.count("restock"), shop.stock("MUG")) == (1, 8)


def test_a_paid_status_counts_as_paid_though_no_money_came(shop: Shop) -> None:
    shop.order(800, payments=[])
    assert (
        shop.call("PUT", "orders/800", {"status": "completed"}).body["date_paid_gmt"] == "2026-11-23T12:00:00"
    )
    assert error_of(shop.refund(800, api_refund=True))[0] == 500


# ---------------------------------------------------------------- refunding


def test_a_refund_without_api_refund_is_only_written_down(shop: Shop) -> None:
    answer = shop.refund()

    assert answer.status == 201
    assert (answer.body["amount"], answer.body["refunded_payment"]) == ("10.00", False)
    (line,) = shop.vendor.book.lines()
    assert (line["effect"], line["id"]) == ("record_refund", str(answer.body["id"]))
    assert (line["amount_minor"], line["currency"], line["idempotency_key"]) == (1000, "EUR", None)
    assert line["target"] == {"order": "723", "number": "WC-1042", "payment": "ch_1"}
    assert line["reference"] == {"reason": "refundflow op_1", "_refundflow_op": "op_1"}
    assert shop.get("orders/723")["status"] == "processing"


@pytest.mark.parametrize(
    ("_case", "value", "effect"),
    [
        ("left out", ..., "refund"),
        ("null", None, "refund"),
        ("true", True, "refund"),
        ("true as text", "true", "refund"),
        ("false as text", "false", "record_refund"),
        ("zero", 0, "record_refund"),
        ("false", False, "record_refund"),
    ],
)
def test_money_moves_unless_api_refund_says_false(shop: Shop, _case: str, value: Any, effect: str) -> None:
    answer = shop.refund(api_refund=value)
    assert answer.body["refunded_payment"] is (effect == "refund")
    assert shop.book == [(effect, str(answer.body["id"]), 1000)]


def test_api_refund_in_a_form_or_in_the_query_is_heard_too(shop: Shop) -> None:
    form = basic() | {"content-type": "application/x-www-form-urlencoded"}
    shop.call("POST", "orders/723/refunds", b"amount=1.00&api_refund=false", form)
    shop.call("POST", "orders/723/refunds", {"amount": "1.00"}, api_refund="false")
    assert shop.effects == ["record_refund", "record_refund"]


def test_nothing_is_idempotent_so_the_same_refund_pays_twice(shop: Shop) -> None:
    ids = [shop.refund(api_refund=True).body["id"] for _ in range(2)]
    assert shop.book == [("refund", str(id), 1000) for id in ids]
    listed = shop.get("orders/723/refunds")
    assert [each["id"] for each in listed] == ids[::-1]
    assert [each["meta_data"][0]["value"] for each in listed] == ["op_1", "op_1"]


def test_two_refunds_at_once_both_pass_the_check_of_what_is_left(shop: Shop) -> None:
    shop.fault(Kind.LATENCY, operation="create_refund", latency_s=60)
    answers: list[Answer] = []
    slow = threading.Thread(target=lambda: answers.append(shop.refund(amount="46.80")))
    slow.start()
    while not shop.vendor._left:
        slow.join(0.01)
    answers.append(shop.refund(amount="46.80"))
    shop.world.stopping.set()
    slow.join()
    assert [each.status for each in answers] == [201, 201]
    assert [line[2] for line in shop.book if line[0] == "record_refund"] == [4680, 4680]
    assert shop.refund(amount="0.01").status == 500


def test_the_refund_that_reaches_the_total_sets_the_order_to_refunded(shop: Shop) -> None:
    shop.refund(amount="46.79")
    assert shop.get("orders/723")["status"] == "processing"
    shop.refund(amount="0.01")
    assert shop.get("orders/723")["status"] == "refunded"
    assert shop.effects == ["record_refund", "record_refund", "set_status"]
    assert shop.stock("MUG") == 8


def test_refund_then_cancel_goes_from_processing_over_refunded_to_cancelled(shop: Shop) -> None:
    shop.refund(amount="46.80")
    assert shop.cancel().body["status"] == "cancelled"
    assert shop.effects == ["record_refund", "set_status", "cancel_order", "restock", "restock"]
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)


def test_recording_the_full_refund_of_an_authorised_order_releases_it(shop: Shop) -> None:
    shop.order(800, payments=[{"status": "authorised", "transaction_id": "ch_2"}])
    shop.refund(800, amount="46.80")
    assert shop.effects == ["record_refund", "set_status", "void"]


@pytest.mark.parametrize(
    ("_case", "api_restock", "lines", "restocked"),
    [
        ("left out means true", ..., LINES, [2, 1]),
        ("null means true", None, LINES, [2, 1]),
        ("false", False, LINES, []),
        ("no quantity", True, [{"id": 315, "refund_total": 30.0}], []),
        ("a product's id instead of the line's", True, [{"id": 93, "quantity": 2, "refund_total": 30.0}], []),
        ("one line without an id spoils them all", True, [*LINES, {"quantity": 1}], []),
        ("no lines", True, ..., []),
    ],
)
def test_a_refund_restocks_the_quantities_of_its_lines(
    shop: Shop, _case: str, api_restock: Any, lines: Any, restocked: list[int]
) -> None:
    answer = shop.refund(api_restock=api_restock, line_items=lines)
    assert answer.status == 201
    assert [line[2] for line in shop.book if line[0] == "restock"] == restocked
    assert shop.stock("MUG") == 8 + sum(restocked[:1])


def test_restock_with_a_refund_and_cancel_afterwards_do_not_count_twice(shop: Shop) -> None:
    shop.refund(api_restock=True, line_items=[{"id": 315, "quantity": 1, "refund_total": 10.0}])
    order = shop.get("orders/723")
    assert {each["key"]: each["value"] for each in order["line_items"][0]["meta_data"]} == {
        "_reduced_stock": "1",
        "_restock_refunded_items": "1",
    }
    shop.cancel()
    assert [(line[1], line[2]) for line in shop.book if line[0] == "restock"] == [
        ("315", 1),
        ("315", 1),
        ("316", 1),
    ]
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)
    shop.refund(api_restock=True, line_items=LINES)
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)


def test_more_may_be_restocked_than_was_sold_until_a_cancel_takes_it_back(shop: Shop) -> None:
    shop.refund(api_restock=True, line_items=[{"id": 315, "quantity": 5, "refund_total": 10.0}])
    assert shop.stock("MUG") == 13
    shop.cancel()
    assert shop.stock("MUG") == 10
    assert ("reduce_stock", "315", 3) in shop.book


def test_the_amount_wins_over_the_lines_and_is_their_sum_where_missing(shop: Shop) -> None:
    assert shop.refund(amount="1.00", line_items=LINES).body["amount"] == "1.00"
    computed = shop.refund(amount=..., line_items=LINES).body
    assert computed["amount"] == "41.90"
    back = computed["line_items"][0]
    assert (back["quantity"], back["total"], back["total_tax"]) == (-2, "-30.00", "-5.70")
    assert (back["meta_data"][0]["key"], back["meta_data"][0]["value"]) == ("_refunded_item_id", "315")
    # Nothing to compute from: nothing is refunded, and a record says so.
    assert shop.refund(amount=...).body["amount"] == "0.00"


def test_shipping_and_fees_are_refunded_through_their_own_lines(shop: Shop) -> None:
    made = shop.order(800, fees=[{"title": "Gift wrap", "total_minor": 200}])
    lines = [{"id": made["shipping"][0], "refund_total": 4.9}, {"id": made["fees"][0], "refund_total": 2}]
    body = shop.refund(800, amount=..., line_items=lines).body
    assert body["amount"] == "6.90"
    assert [each["total"] for each in (*body["shipping_lines"], *body["fee_lines"])] == ["-4.90", "-2.00"]


def test_an_order_with_a_free_line_is_not_fully_refunded_while_pieces_are_missing(shop: Shop) -> None:
    shop.order(800, shipping_minor=0, lines=[{"id": 900, "unit_minor": 100}, {"id": 901, "unit_minor": 0}])
    shop.refund(800, amount="1.00", line_items=[{"id": 900, "quantity": 1, "refund_total": 1}])
    assert shop.get("orders/800")["status"] == "processing"


CODE = "woocommerce_rest_cannot_create_order_refund"


@pytest.mark.parametrize(
    ("_case", "order", "changes", "wanted"),
    [
        ("more than is left", {}, {"amount": "46.81"}, (500, CODE, 500)),
        ("no number", {}, {"amount": "ten"}, (500, CODE, 500)),
        ("below zero", {}, {"amount": "-1.00"}, (500, "woocommerce_rest_invalid_order_refund", 400)),
        ("an offline gateway", {"gateway": "bacs"}, {"api_refund": True}, (500, CODE, 500)),
        ("a plugin without refunds", {"supports_refunds": False}, {"api_refund": True}, (500, CODE, 500)),
        ("a gateway that declines", {"declines": True}, {"api_refund": True}, (500, CODE, 500)),
        ("money not captured", {"status": "authorised"}, {"api_refund": True}, (500, CODE, 500)),
        ("more than was captured", {"amount_minor": 999}, {"api_refund": True}, (500, CODE, 500)),
        ("nothing, through the gateway", {}, {"amount": "0", "api_refund": True}, (500, CODE, 500)),
    ],
)
def test_refusals_of_the_refunds_controller_carry_an_integer_and_come_as_500(
    shop: Shop, _case: str, order: Record, changes: Record, wanted: tuple[int, str, int]
) -> None:
    shop.order(800, payments=[order])
    assert error_of(shop.refund(800, **changes)) == wanted
    assert shop.book == []
    assert shop.get("orders/800/refunds") == []


def test_a_refund_for_no_order_is_a_500_too_and_its_list_is_empty(shop: Shop) -> None:
    assert error_of(shop.refund(9)) == (500, "woocommerce_rest_invalid_order_id", 404)
    assert shop.get("orders/9/refunds") == []


def test_a_repeated_full_refund_is_told_as_an_invalid_amount(shop: Shop) -> None:
    shop.refund(amount="46.80")
    answer = shop.refund(amount="46.80")
    assert error_of(answer) == (500, CODE, 500)
    assert answer.body["message"] == "Invalid refund amount."
    assert shop.effects.count("record_refund") == 1


def test_a_shop_can_be_set_to_take_the_integer_for_the_status(shop: Shop) -> None:
    shop.seed(settings={"answers_500": False})
    assert error_of(shop.refund(9))[0] == 404
    assert error_of(shop.refund(amount="-1"))[0] == 400
    assert error_of(shop.refund(amount="99"))[0] == 500


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("amount", {"amount": 10.0}),
        ("reason", {"reason": 1}),
        ("api_refund", {"api_refund": "no"}),
        ("api_restock", {"api_restock": []}),
        ("meta_data", {"meta_data": "op_1"}),
        ("line_items", {"line_items": {"315": {}}}),
        ("line_items[0][refund_total]", {"line_items": [{"id": 315, "refund_total": "30.00"}]}),
        ("line_items[0][quantity]", {"line_items": [{"id": 315, "quantity": 1.5}]}),
        ("line_items[0][refund_tax]", {"line_items": [{"id": 315, "refund_tax": [{"id": 1}]}]}),
    ],
)
def test_a_refund_with_a_wrong_type_is_a_true_400(shop: Shop, name: str, changes: Record) -> None:
    answer = shop.refund(**changes)
    assert error_of(answer) == (400, "rest_invalid_param", 400)
    assert list(answer.body["data"]["params"]) == [name]
    assert shop.book == []


def test_refunds_are_listed_ten_at_a_time_and_found_one_by_one(shop: Shop) -> None:
    ids = [shop.refund(amount="0.10").body["id"] for _ in range(12)]
    page = shop.call("GET", "orders/723/refunds")
    assert [each["id"] for each in page.body] == ids[::-1][:10]
    assert page.headers["X-WP-TotalPages"] == "2"
    assert shop.get(f"orders/723/refunds/{ids[0]}")["id"] == ids[0]

    shop.order(800)
    missing = "woocommerce_rest_shop_order_refund_invalid_id"
    stray = "woocommerce_rest_invalid_order_refund_id"
    assert error_of(shop.call("GET", "orders/723/refunds/9")) == (404, missing, 404)
    assert error_of(shop.call("GET", f"orders/800/refunds/{ids[0]}")) == (500, stray, 404)
    assert error_of(shop.call("GET", f"orders/9/refunds/{ids[0]}")) == (
        500,
        "woocommerce_rest_invalid_order_id",
        404,
    )
    assert error_of(shop.call("GET", f"orders/{ids[0]}"))[0] == 404


def test_newer_shops_list_the_refunds_of_all_orders(shop: Shop) -> None:
    shop.seed(settings={"has_refunds_list": True})
    id = shop.refund().body["id"]
    assert [(each["id"], each["parent_id"]) for each in shop.get("refunds")] == [(id, 723)]


def test_deleting_a_refund_removes_the_record_and_nothing_comes_back(shop: Shop) -> None:
    id = shop.refund(amount="46.80", api_refund=True).body["id"]
    assert error_of(shop.call("DELETE", f"orders/723/refunds/{id}", force="false"))[0] == 501
    assert shop.call("DELETE", f"orders/723/refunds/{id}", force="true").body["id"] == id
    order = shop.get("orders/723")
    assert (order["status"], order["refunds"]) == ("refunded", [])
    assert shop.effects == ["refund", "set_status", "delete_refund"]
    # The gateway remembers what the shop forgot.
    assert error_of(shop.refund(amount="0.01", api_refund=True)) == (500, CODE, 500)


def test_seeded_refunds_are_history_and_not_in_the_book(shop: Shop) -> None:
    refunds = [{"id": 901, "amount_minor": 4680, "api_refund": True, "meta": {"_refundflow_op": "op_0"}}]
    made = shop.order(800, refunds=refunds)
    assert (made["status"], made["remaining_minor"], made["refunds"]) == ("refunded", 0, [901])
    assert shop.get("orders/800/refunds/901")["meta_data"][0]["value"] == "op_0"
    assert shop.book == []


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("code", "data", "message"),
    [
        ("", 500, "declined"),
        ("gateway", 500, "declined"),
        ("amount", 500, "Invalid refund amount."),
        ("no_automatic_refunds", 500, "by itself"),
        ("order", 404, "Invalid order ID."),
    ],
)
def test_a_refused_refund_is_told_in_the_vendors_way(shop: Shop, code: str, data: int, message: str) -> None:
    shop.fault(Kind.REFUSE, code=code)
    answer = shop.refund(api_refund=True)
    assert (answer.status, answer.body["data"]) == (500, data)
    assert message in answer.body["message"]
    assert shop.book == []


def test_other_refusals_and_bad_credentials_on_demand(shop: Shop) -> None:
    shop.fault(Kind.REFUSE)
    assert error_of(shop.cancel()) == (403, "woocommerce_rest_cannot_edit", 403)
    shop.fault(Kind.REFUSE, code="woocommerce_rest_odd")
    assert error_of(shop.refund()) == (403, "woocommerce_rest_odd", 403)
    shop.fault(Kind.REFUSE_AUTH)
    assert error_of(shop.cancel()) == (401, "woocommerce_rest_authentication_error", 401)
    assert shop.book == []


def test_a_hosts_errors_are_pages_and_a_broken_shop_speaks_json(shop: Shop) -> None:
    for status in (429, 503, 500):
        shop.fault(Kind.STATUS, status=status)
    limited, down, broken = (shop.cancel() for _ in range(3))
    assert (limited.status, limited.content_type) == (429, "text/html")
    assert (down.status, down.body[:6]) == (503, "<html>")
    assert error_of(broken) == (500, "internal_server_error", 500)
    assert shop.book == []


def test_a_lost_reply_leaves_the_refund_to_be_found_by_its_meta(shop: Shop) -> None:
    shop.fault(Kind.LOST_REPLY, operation="create_refund")
    body = json.dumps(REFUND | {"api_refund": True}).encode()
    call = Call(
        "POST", "/wp-json/wc/v3/orders/723/refunds", "", basic() | {"content-type": "application/json"}, body
    )
    assert isinstance(shop.world.receive("woocommerce", call), Cut)
    (found,) = shop.get("orders/723/refunds")
    assert {each["key"]: each["value"] for each in found["meta_data"]} == {"_refundflow_op": "op_1"}
    assert shop.book == [("refund", str(found["id"]), 1000)]


@pytest.mark.parametrize(
    ("code", "effects", "kept"),
    [
        ("record_only", ["record_refund"], [(False, False)]),
        ("money_only", ["refund"], []),
        ("no_meta", ["refund"], [(True, False)]),
        ("", ["refund"], [(True, True)]),
    ],
)
def test_a_refund_can_break_off_in_the_middle(
    shop: Shop, code: str, effects: list[str], kept: list[tuple[bool, bool]]
) -> None:
    shop.fault(Kind.STATUS, status=500, is_after_effect=True, code=code)
    assert error_of(shop.refund(api_refund=True)) == (500, "internal_server_error", 500)
    assert shop.effects == effects
    found = shop.get("orders/723/refunds")
    assert [(each["refunded_payment"], bool(each["meta_data"])) for each in found] == kept
    assert all(each["reason"] == "refundflow op_1" for each in found)


@pytest.mark.parametrize(("status", "effects"), [("succeeded", ["refund"]), ("failed", [])])
def test_a_slow_gateway_is_told_as_paid_and_pays_when_settled(
    shop: Shop, status: str, effects: list[str]
) -> None:
    shop.fault(Kind.SLOW_PENDING)
    body = shop.refund(api_refund=True).body
    assert (body["refunded_payment"], shop.book) == (True, [])
    assert shop.settle(refund=body["id"], status=status)["refunded_payment"] is True
    assert shop.effects == effects
    with pytest.raises(ValueError, match="not on its way"):
        shop.settle(refund=body["id"], status=status)


def test_a_late_failure_brings_the_money_back_and_the_shop_never_says_so(shop: Shop) -> None:
    shop.fault(Kind.LATE_FAILURE)
    id = shop.refund(api_refund=True).body["id"]
    shop.world.settle("woocommerce", {})
    assert shop.book == [("refund", str(id), 1000), ("refund_failed", str(id), 1000)]
    assert shop.get(f"orders/723/refunds/{id}")["refunded_payment"] is True


# ---------------------------------------------------------------- products


def test_stock_is_read_and_set_absolutely(shop: Shop) -> None:
    assert [each["id"] for each in shop.get("products", sku="MUG")] == [93]
    assert shop.call("PUT", "products/93", {"stock_quantity": 17}).body["stock_quantity"] == 17
    assert shop.get("products/93")["stock_quantity"] == 17
    (line,) = shop.vendor.book.lines()
    assert (line["effect"], line["sku"], line["before"], line["quantity"]) == ("set_stock", "MUG", 8, 17)
    assert error_of(shop.call("PUT", "products/93", {"stock_quantity": "17"}))[1] == "rest_invalid_param"
    assert error_of(shop.call("GET", "products/9"))[:2] == (404, "woocommerce_rest_product_invalid_id")
    assert error_of(shop.call("PUT", "products/9", {}))[:2] == (400, "woocommerce_rest_product_invalid_id")


def test_a_variation_has_its_own_stock_and_is_reached_through_its_parent(shop: Shop) -> None:
    lines = [{"sku": "TEE-M", "product_id": 200, "variation_id": 201, "unit_minor": 900, "stock": 4}]
    shop.order(800, lines=lines)
    item = shop.get("orders/800")["line_items"][0]
    assert (item["product_id"], item["variation_id"]) == (200, 201)
    assert shop.get("products/200/variations/201")["stock_quantity"] == 4
    shop.call("PUT", "products/200/variations/201", {"stock_quantity": 6})
    assert shop.stock("TEE-M") == 6
    assert error_of(shop.call("GET", "products/93/variations/201"))[0] == 404


# ---------------------------------------------------------------- webhooks


def test_the_signature_is_that_of_the_vectors(shop: Shop) -> None:
    for vector in load(specs("woocommerce") / "webhook_signature_vectors.json")["vectors"]:
        event = Event("1", "order.updated", vector["body"].encode())
        signed = shop.vendor.sign(event, URL, vector["secret"]).headers["X-WC-Webhook-Signature"]
        assert (signed == vector["signature"]) is vector["valid"]


def test_a_secret_is_decoded_from_entities_once_before_it_signs(shop: Shop) -> None:
    event = Event("1", "order.updated", b"{}")
    for stored, meant in (
        ("a&amp;b&quot;c", 'a&b"c'),
        ("&#039;&lt;&gt;", "'<>"),
        ("&amp;lt;&eacute;", "&lt;&eacute;"),
    ):
        signed = shop.vendor.sign(event, URL, stored).headers["X-WC-Webhook-Signature"]
        assert signed == base64.b64encode(hmac.new(meant.encode(), b"{}", hashlib.sha256).digest()).decode()


def test_each_change_of_an_order_is_told_once_and_never_again(shop: Shop) -> None:
    shop.status = 500
    shop.world.webhooks.subscribe("woocommerce", Subscription(URL, "s", retry_waits_s=(0.0, 0.0)))
    shop.refund(amount="46.80")
    shop.cancel()
    shop.world.webhooks.wait_idle()

    sent = [shop.posted.get_nowait() for _ in range(2)]
    assert shop.posted.empty()
    assert [json.loads(body)["status"] for _, _, body in sent] == ["refunded", "cancelled"]
    url, headers, body = sent[1]
    assert (url, headers["X-WC-Webhook-Topic"], headers["X-WC-Webhook-Resource"]) == (
        URL,
        "order.updated",
        "order",
    )
    assert (headers["X-WC-Webhook-Event"], headers["X-WC-Webhook-Source"][:8]) == ("updated", "https://")
    signature = base64.b64encode(hmac.new(b"s", body, hashlib.sha256).digest()).decode()
    assert headers["X-WC-Webhook-Signature"] == signature
    assert json.loads(body) == shop.get("orders/723")
    # Two deliveries within one second share their id.
    assert headers["X-WC-Webhook-Delivery-ID"] == sent[0][1]["X-WC-Webhook-Delivery-ID"]
    shop.now += timedelta(seconds=1)
    later = shop.vendor.sign(Event("1", "order.updated", body), URL, "s")
    assert later.headers["X-WC-Webhook-Delivery-ID"] != headers["X-WC-Webhook-Delivery-ID"]


def test_the_body_is_written_as_php_writes_it(shop: Shop) -> None:
    shop.order(800, note="Zurück / bitte")
    body = shop.vendor.event_for("order.updated", "800").payload
    assert b'"customer_note":"Zur\\u00fcck \\/ bitte"' in body


def test_bodies_of_all_topics(shop: Shop) -> None:
    hook = "action.woocommerce_order_status_cancelled"
    made = shop.seed(webhooks=[{"topic": "order.updated", "delivery_url": URL, "secret": "s"}])["webhooks"][0]
    deleted, custom, ping = (
        shop.vendor.event_for(topic, id)
        for topic, id in (("order.deleted", "723"), (hook, "723"), ("ping", str(made["id"])))
    )
    assert json.loads(deleted.payload) == {"id": 723}
    assert json.loads(custom.payload) == {"action": "woocommerce_order_status_cancelled", "arg": 723}
    headers = shop.vendor.sign(custom, URL, "s").headers
    assert (headers["X-WC-Webhook-Resource"], headers["X-WC-Webhook-ID"]) == ("action", str(made["id"]))
    assert ping.payload == f"webhook_id={made['id']}".encode()
    for topic, id in (
        ("order.updated", "9"),
        ("order.cancelled", "723"),
        ("ping", "723"),
        ("coupon.created", "723"),
    ):
        with pytest.raises(NoSuchObjectError):
            shop.vendor.event_for(topic, id)


def test_custom_topics_go_only_where_they_are_asked_for(shop: Shop) -> None:
    topic = "action.woocommerce_order_status_cancelled"
    shop.world.webhooks.subscribe("woocommerce", Subscription(URL, "s", topics=(topic,)))
    shop.cancel()
    shop.world.webhooks.wait_idle()
    assert json.loads(shop.posted.get_nowait()[2])["arg"] == 723
    assert shop.posted.empty()


def test_a_new_webhook_is_pinged_without_signature_and_then_gets_its_topic(shop: Shop) -> None:
    body = {"name": "refundflow", "topic": "order.updated", "delivery_url": URL, "secret": "s&amp;t"}
    answer = shop.call("POST", "webhooks", body)
    assert (answer.status, answer.body["status"], "secret" in answer.body) == (201, "active", False)
    id = answer.body["id"]

    url, headers, payload = shop.posted.get(timeout=10)
    assert (url, payload) == (URL, f"webhook_id={id}".encode())
    assert sorted(headers) == ["Content-Type", "User-Agent"]
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"

    shop.cancel()
    _, headers, payload = shop.posted.get(timeout=10)
    assert (headers["X-WC-Webhook-ID"], json.loads(payload)["status"]) == (str(id), "cancelled")
    signature = base64.b64encode(hmac.new(b"s&t", payload, hashlib.sha256).digest()).decode()
    assert headers["X-WC-Webhook-Signature"] == signature


def test_a_webhook_that_keeps_failing_is_switched_off_in_silence_and_can_be_put_back(shop: Shop) -> None:
    id = shop.seed(webhooks=[{"topic": "order.updated", "delivery_url": URL, "secret": "s"}])["webhooks"][0][
        "id"
    ]
    shop.status = 500
    event = shop.vendor.event_for("order.updated", "723")
    for failures in range(1, FAILURES_BORNE + 1):
        shop.vendor._deliver(id, event)
        assert shop.settle(webhook=id) == {"id": id, "status": "active", "failures": failures, "ping": None}
    shop.vendor._deliver(id, event)
    assert [each["id"] for each in shop.get("webhooks", status="disabled")] == [id]
    attempts = shop.posted.qsize()
    assert attempts == FAILURES_BORNE + 1

    shop.cancel()
    assert shop.call("PUT", f"webhooks/{id}", {"status": "active"}).body["status"] == "active"
    shop.status = 302  # a redirect counts as taken
    shop.vendor._deliver(id, event)
    assert shop.settle(webhook=id)["failures"] == 0
    assert shop.posted.qsize() == attempts + 1


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"),
    [
        ("POST", "webhooks", {"topic": "order.updated"}, (400, "rest_missing_callback_param")),
        ("POST", "webhooks", {"topic": "order.cancelled", "delivery_url": URL}, (400, "invalid_topic")),
        ("POST", "webhooks", {"topic": "order.updated", "delivery_url": "x"}, (400, "invalid_delivery_url")),
        ("POST", "webhooks", {"topic": 5, "delivery_url": URL}, (400, "rest_invalid_param")),
        ("PUT", "webhooks/9", {"status": "active"}, (400, "invalid_id")),
        ("GET", "webhooks/9", None, (404, "invalid_id")),
        ("DELETE", "webhooks/9", None, (501, "woocommerce_rest_trash_not_supported")),
    ],
)
def test_wrong_calls_about_webhooks_are_refused(
    shop: Shop, method: str, path: str, body: Record | None, wanted: tuple[int, str]
) -> None:
    status, code, _ = error_of(shop.call(method, path, body))
    assert (status, code.removeprefix("woocommerce_rest_shop_webhook_")) == wanted


def test_a_webhook_is_deleted_by_force(shop: Shop) -> None:
    id = shop.seed(webhooks=[{"topic": "order.updated", "delivery_url": URL, "secret": "s"}])["webhooks"][0][
        "id"
    ]
    assert shop.call("DELETE", f"webhooks/{id}", force="true").status == 200
    assert error_of(shop.call("GET", f"webhooks/{id}"))[0] == 404


# ---------------------------------------------------------------- at the controls


def test_people_act_in_the_shop_and_the_book_says_that_it_was_them(shop: Shop) -> None:
    shop.settle(order=723, admin_refund={"amount_minor": 1000, "reason": "sorry", "api_refund": True})
    shop.settle(order=723, admin_refund={"amount_minor": 500, "lines": [{"id": 316, "quantity": 1}]})
    shop.settle(order=723, status="completed")
    shop.settle(order=723, status="cancelled")
    assert [(line["effect"], line.get("by")) for line in shop.vendor.book.lines()] == [
        ("refund", "admin"),
        ("record_refund", "admin"),
        ("restock", None),
        ("set_status", "admin"),
        ("cancel_order", "admin"),
        ("restock", None),
    ]
    assert (shop.stock("MUG"), shop.stock("PEN")) == (10, 4)
    with pytest.raises(ValueError, match="are left to refund"):
        shop.settle(order=723, admin_refund={"amount_minor": 99_999})


def test_an_authorised_payment_can_be_captured_or_released_and_an_order_trashed_and_restored(
    shop: Shop,
) -> None:
    shop.world.webhooks.subscribe("woocommerce", Subscription(URL, "s"))
    for id in (800, 801):
        shop.order(id, payments=[{"status": "authorised"}])
    assert shop.settle(order=800, payment="captured")["payment"] == "captured"
    assert shop.settle(order=801, payment="released")["payment"] == "released"
    assert shop.settle(order=723, deleted=True)["status"] == "trash"
    assert shop.settle(order=723, deleted=False)["status"] == "processing"
    shop.world.webhooks.wait_idle()
    topics = [shop.posted.get_nowait()[1]["X-WC-Webhook-Topic"] for _ in range(4)]
    assert topics == ["order.updated", "order.updated", "order.deleted", "order.restored"]
    assert shop.effects == ["void"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"order": 9, "status": "cancelled"}, NoSuchObjectError),
        ({"refund": 9, "status": "failed"}, NoSuchObjectError),
        ({"sku": "NONE"}, NoSuchObjectError),
        ({"order": 723, "status": "lost"}, ValueError),
        ({"order": 723, "payment": "captured"}, ValueError),
        ({"order": 723, "deleted": False}, ValueError),
        ({"weather": "fine"}, ValueError),
    ],
)
def test_what_cannot_be_settled_is_said(shop: Shop, data: Record, error: type[Exception]) -> None:
    with pytest.raises(error):
        shop.world.settle("woocommerce", data)
    assert shop.book == []


@pytest.mark.parametrize(
    ("_case", "order"),
    [
        ("no lines", {"lines": []}),
        ("an unknown key", {"lines": [{"unit_minor": 1}], "totl": 1}),
        ("an unknown key of a line", {"lines": [{"unit_minor": 1, "qty": 1}]}),
        ("two payments", {"lines": [{"unit_minor": 1}], "payments": [{}, {}]}),
        ("an odd payment", {"lines": [{"unit_minor": 1}], "payments": [{"status": "lost"}]}),
        ("an odd status", {"lines": [{"unit_minor": 1}], "status": "canceled"}),
        ("an id that is taken", {"lines": [{"unit_minor": 1}], "id": 723}),
        ("a line id that is taken", {"lines": [{"unit_minor": 1, "id": 315}]}),
    ],
)
def test_what_cannot_be_seeded_is_said(shop: Shop, _case: str, order: Record) -> None:
    with pytest.raises(ValueError, match=r"."):
        shop.seed(orders=[order])


def test_an_order_shipped_in_full_is_completed_and_a_reset_forgets_everything(shop: Shop) -> None:
    assert shop.order(800, lines=[{"unit_minor": 1, "shipped": 1}])["status"] == "completed"
    shop.cancel()
    shop.seed(settings={"releases_on_cancel": False})
    shop.world.reset("woocommerce")
    assert (shop.book, shop.get("orders"), shop.vendor.settings.releases_on_cancel) == ([], [], True)


def test_answers_and_webhooks_fit_the_published_description(shop: Shop) -> None:
    folder = specs("woocommerce")
    check_document(folder / "refund-create.request.schema.json", REFUND | {"line_items": LINES})
    refund = shop.refund(line_items=LINES, api_refund=True).body
    for body in (refund, *shop.get("orders/723/refunds")):
        check_document(folder / "refund.response.schema.json", body)
    for body in (shop.cancel().body, *shop.get("orders")):
        check_document(folder / "order.response.schema.json", body)
    for refused in (shop.refund(9), shop.refund(amount=1), shop.call("GET", "orders/9")):
        check_document(folder / "error.response.schema.json", refused.body)
    for topic in ("order.updated", "order.deleted", "action.woocommerce_order_status_cancelled"):
        sent = json.loads(shop.vendor.event_for(topic, "723").payload)
        check_document(folder / "webhook.order.updated.schema.json", sent)
