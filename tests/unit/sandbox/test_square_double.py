"""The practice Square is as strict as the real one, and its book holds exactly what happened."""

from __future__ import annotations

import json
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
    How,
    Kind,
    NoSuchObjectError,
    Record,
    Subscription,
    World,
)
from refundflow.sandbox.square import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    PAID_ORDER,
    REFRESH_TOKEN,
    Square,
)
from tests.support.specs import check_document, check_response, load, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LINE = {"uid": "LI1", "sku": "MUG", "title": "Mug", "quantity": 2, "unit_minor": 1500, "stock": 10}
ORDER = {"id": "O1", "number": "1042", "email": "ada@example.com", "lines": [LINE], "shipping_minor": 1190}
PAID = {**ORDER, "payments": [{"id": "P1"}]}
UNPAID = {**ORDER, "id": "O2", "number": "1043", "payments": []}
CANCEL_F1 = {"fulfillments": [{"uid": "F1", "state": "CANCELED"}]}


class Shop:
    """A practice Square with one paid and one unpaid order of 41.90 USD, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Square], clock=lambda: self.now, send=self._receive)
        vendor = self.world.vendor("square")
        assert isinstance(vendor, Square)
        self.square = vendor
        self.seed(PAID, UNPAID)

    def _receive(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def seed(self, *orders: Record, **settings: Any) -> list[Record]:
        made = self.world.seed({"square": {"settings": settings, "orders": list(orders)}})
        return list(made["square"]["orders"])

    def call(
        self, method: str, path: str, body: Any = None, *, token: str = ACCESS_TOKEN, **headers: str
    ) -> Answer | Cut:
        path, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {token}", "square-version": "2026-08-19"}
        if method != "GET":
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = b"" if body is None else json.dumps(body).encode()
        return self.world.receive("square", Call(method, path, query, sent, data))

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        answer = self.call(method, path, body, **more)
        assert isinstance(answer, Answer)
        return answer.status, json.loads(answer.payload)

    def get(self, path: str, **query: Any) -> Any:
        status, body = self.ask("GET", f"/v2/{path}?{urlencode(query)}")
        assert status == 200, body
        return body

    def refund(self, key: str | None = "op-refund", **changes: Any) -> tuple[int, Any]:
        body: Record = {
            "idempotency_key": key,
            "payment_id": "P1",
            "amount_money": {"amount": 4190, "currency": "USD"},
            "reason": "refundflow op",
        }
        sent = {name: value for name, value in (body | changes).items() if value is not None}
        return self.ask("POST", "/v2/refunds", sent)

    def part(self, minor: int, key: str | None = None, **changes: Any) -> tuple[int, Any]:
        money = {"amount": minor, "currency": "USD"}
        return self.refund(key or f"part-{minor}", amount_money=money, **changes)

    def update(self, id: str, changes: Record, key: str | None = None, version: Any = 1) -> tuple[int, Any]:
        body: Record = {"order": {"location_id": "L1", "version": version, **changes}}
        return self.ask("PUT", f"/v2/orders/{id}", body | ({"idempotency_key": key} if key else {}))

    def move(self, quantity: Any = "2", key: str = "op-stock", **changes: Any) -> tuple[int, Any]:
        adjustment: Record = {
            "reference_id": "op",
            "catalog_object_id": "V-MUG",
            "location_id": "L1",
            "from_state": "UNLINKED_RETURN",
            "to_state": "IN_STOCK",
            "quantity": quantity,
            "occurred_at": self.now.isoformat(),
        } | changes
        sent = {name: value for name, value in adjustment.items() if value is not None}
        body = {"idempotency_key": key, "changes": [{"type": "ADJUSTMENT", "adjustment": sent}]}
        return self.ask("POST", "/v2/inventory/changes/batch-create", body)

    def settle(self, **data: Any) -> Any:
        return self.world.settle("square", data)[0]

    def fault(self, kind: Kind, operation: str = "create_refund", **more: Any) -> None:
        self.world.faults.add(Fault(kind, "square", operation, **more))

    @property
    def stock(self) -> int:
        return int(self.settle(stock="MUG")["stock"])

    def book(self, effect: str | None = None) -> list[Record]:
        return self.square.book.lines(effect)

    @property
    def paid_back(self) -> list[int]:
        return [line["amount_minor"] for line in self.book("refund")]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def code_of(result: tuple[int, Any]) -> tuple[int, str]:
    return result[0], result[1]["errors"][0]["code"]


# ---------------------------------------------------------------- who calls


@pytest.mark.parametrize(
    ("_case", "headers", "wanted"),
    [
        ("another token", {"authorization": "Bearer other"}, (401, "UNAUTHORIZED")),
        ("another scheme", {"authorization": f"Basic {ACCESS_TOKEN}"}, (401, "UNAUTHORIZED")),
        ("a version that is no date", {"square_version": "latest"}, (400, "INVALID_SQUARE_VERSION_FORMAT")),
        ("an impossible day", {"square_version": "2026-02-30"}, (400, "INVALID_SQUARE_VERSION_FORMAT")),
        ("a form", {"content_type": "application/x-www-form-urlencoded"}, (400, "INVALID_CONTENT_TYPE")),
    ],
)
def test_bad_headers_are_refused_and_nothing_happens(
    shop: Shop, _case: str, headers: dict[str, str], wanted: tuple[int, str]
) -> None:
    assert code_of(shop.ask("POST", "/v2/refunds", {}, **headers)) == wanted
    assert shop.book() == []


def test_a_body_that_is_no_json_object_is_refused(shop: Shop) -> None:
    assert code_of(shop.ask("POST", "/v2/refunds", [1])) == (400, "EXPECTED_JSON_BODY")
    assert code_of(shop.ask("POST", "/v2/refunds")) == (400, "EXPECTED_JSON_BODY")


def test_a_token_is_given_for_thirty_days_and_then_expires(shop: Shop) -> None:
    asked = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "grant_type": "refresh_token",
        "refresh_token": REFRESH_TOKEN,
    }
    status, given = shop.ask("POST", "/oauth2/token", asked, token="")
    assert (status, given["expires_at"], given["token_type"]) == (200, "2026-12-23T12:00:00.000Z", "bearer")
    assert given["refresh_token"] == REFRESH_TOKEN
    assert shop.ask("GET", "/v2/payments/P1", token=given["access_token"])[0] == 200

    shop.now += timedelta(days=30)
    expired = shop.ask("GET", "/v2/payments/P1", token=given["access_token"])
    assert code_of(expired) == (401, "ACCESS_TOKEN_EXPIRED")
    assert expired[1]["errors"][0]["category"] == "AUTHENTICATION_ERROR"
    assert shop.ask("GET", "/v2/payments/P1")[0] == 200


@pytest.mark.parametrize(
    ("_case", "changes", "wanted"),
    [
        ("wrong secret", {"client_secret": "other"}, (401, "UNAUTHORIZED")),
        ("wrong client", {"client_id": "other"}, (401, "UNAUTHORIZED")),
        ("wrong refresh token", {"refresh_token": "other"}, (401, "UNAUTHORIZED")),
        ("another grant", {"grant_type": "password"}, (400, "BAD_REQUEST")),
        ("no client", {"client_id": None}, (400, "MISSING_REQUIRED_PARAMETER")),
    ],
)
def test_a_token_is_not_given_to_the_wrong_client(
    shop: Shop, _case: str, changes: Record, wanted: tuple[int, str]
) -> None:
    asked = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "refresh_token"}
    asked |= {"refresh_token": REFRESH_TOKEN, **changes}
    assert code_of(shop.ask("POST", "/oauth2/token", asked, token="")) == wanted


def test_a_token_can_be_ended_early_and_permissions_taken(shop: Shop) -> None:
    asked = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "refresh_token"}
    given = shop.ask("POST", "/oauth2/token", asked | {"refresh_token": REFRESH_TOKEN})[1]
    assert shop.settle(token="expired") == {"tokens": 1}
    assert code_of(shop.ask("GET", "/v2/payments/P1", token=given["access_token"])) == (
        401,
        "ACCESS_TOKEN_EXPIRED",
    )
    shop.seed(scopes=["PAYMENTS_READ"])
    assert code_of(shop.refund()) == (403, "INSUFFICIENT_SCOPES")
    assert shop.ask("GET", "/v2/payments/P1")[0] == 200


# ---------------------------------------------------------------- orders


def test_an_order_shows_versions_fulfillments_and_tenders(shop: Shop) -> None:
    order = shop.get("orders/O1")["order"]
    assert (order["version"], order["state"], order["reference_id"]) == (1, "OPEN", "1042")
    assert order["line_items"][0]["quantity"] == "2"
    assert order["total_money"] == {"amount": 4190, "currency": "USD"}
    assert [(x["uid"], x["type"], x["state"]) for x in order["fulfillments"]] == [
        ("F1", "SHIPMENT", "PROPOSED")
    ]
    assert [(x["payment_id"], x["amount_money"]["amount"]) for x in order["tenders"]] == [("P1", 4190)]
    assert order["net_amount_due_money"]["amount"] == 0
    assert shop.get("orders/O2")["order"]["net_amount_due_money"]["amount"] == 4190
    assert "tenders" not in shop.get("orders/O2")["order"]


def test_there_is_no_endpoint_that_cancels_an_order(shop: Shop) -> None:
    assert code_of(shop.ask("POST", "/v2/orders/O2/cancel", {})) == (404, "NOT_FOUND")
    assert shop.book() == []


def test_an_unpaid_order_is_cancelled_with_its_fulfillments_in_one_update(shop: Shop) -> None:
    changes = {**CANCEL_F1, "state": "CANCELED", "metadata": {"refundflow": "op"}}
    status, body = shop.update("O2", changes, "op-cancel")

    assert (status, body["order"]["state"], body["order"]["version"]) == (200, "CANCELED", 2)
    assert body["order"]["closed_at"] == "2026-11-23T12:00:00.000Z"
    assert body["order"]["metadata"] == {"refundflow": "op"}
    target = {"order": "O2", "number": "1043"}
    assert [
        (x["effect"], x["id"], x["target"], x["reference"], x["idempotency_key"]) for x in shop.book()
    ] == [
        ("cancel_fulfillment", "F1", target, {"refundflow": "op"}, "op-cancel"),
        ("cancel_order", "O2", target, {"refundflow": "op"}, "op-cancel"),
    ]
    assert code_of(shop.update("O2", {"metadata": {"a": "b"}}, version=2)) == (400, "BAD_REQUEST")


def test_an_order_whose_fulfillments_are_open_is_not_cancelled(shop: Shop) -> None:
    assert code_of(shop.update("O2", {"state": "CANCELED"})) == (400, "BAD_REQUEST")
    assert shop.get("orders/O2")["order"]["version"] == 1
    assert shop.book() == []


def test_a_paid_order_is_refused_in_the_vendors_words_and_nothing_of_the_update_happens(shop: Shop) -> None:
    status, body = shop.update("O1", {**CANCEL_F1, "state": "CANCELED"})

    assert status == 400
    assert body["errors"] == [
        {
            "category": "INVALID_REQUEST_ERROR",
            "code": "BAD_REQUEST",
            "detail": PAID_ORDER,
            "field": "order.state",
        }
    ]
    assert PAID_ORDER == "Orders cannot be canceled after payments have been processed."
    order = shop.get("orders/O1")["order"]
    assert (order["version"], order["fulfillments"][0]["state"]) == (1, "PROPOSED")
    assert shop.book() == []


def test_a_paid_orders_fulfillments_are_cancelled_and_the_order_stays_open(shop: Shop) -> None:
    changes = {
        "fulfillments": [{"uid": "F1", "state": "CANCELED", "shipment_details": {"cancel_reason": "op"}}]
    }
    status, body = shop.update("O1", changes)
    fulfillment = body["order"]["fulfillments"][0]
    assert (status, body["order"]["state"], fulfillment["state"]) == (200, "OPEN", "CANCELED")
    assert fulfillment["shipment_details"]["cancel_reason"] == "op"
    assert [(x["effect"], x["id"]) for x in shop.book()] == [("cancel_fulfillment", "F1")]


def test_names_that_an_update_does_not_know_are_passed_over_with_a_200(shop: Shop) -> None:
    changes = {
        "status": "CANCELED",
        "fulfilments": [{"uid": "F1", "state": "CANCELED"}],
        "note": "cancelled by us",
        "total_money": {"amount": 0, "currency": "USD"},
    }
    status, body = shop.update("O2", changes)
    order = body["order"]
    assert (status, order["state"], order["fulfillments"][0]["state"]) == (200, "OPEN", "PROPOSED")
    assert order["total_money"]["amount"] == 4190
    assert order["version"] == 2
    assert "note" not in order
    assert shop.book() == []


@pytest.mark.parametrize(
    ("_case", "changes", "version", "wanted"),
    [
        ("an old version", CANCEL_F1, 0, (409, "VERSION_MISMATCH")),
        ("a coming version", CANCEL_F1, 2, (409, "VERSION_MISMATCH")),
        ("no version", CANCEL_F1, None, (400, "MISSING_REQUIRED_PARAMETER")),
        ("a version as text", CANCEL_F1, "1", (400, "EXPECTED_INTEGER")),
        ("no location", {"location_id": None}, 1, (400, "MISSING_REQUIRED_PARAMETER")),
        ("another location", {"location_id": "L9"}, 1, (400, "LOCATION_MISMATCH")),
        ("a British state", {"state": "CANCELLED"}, 1, (400, "INVALID_ENUM_VALUE")),
        (
            "an unknown fulfillment",
            {"fulfillments": [{"uid": "F9", "state": "CANCELED"}]},
            1,
            (400, "BAD_REQUEST"),
        ),
        ("too many entries", {"metadata": {str(n): "" for n in range(11)}}, 1, (400, "TOO_MANY_MAP_ENTRIES")),
        ("a long entry", {"metadata": {"a": "x" * 256}}, 1, (400, "VALUE_TOO_LONG")),
        ("a long reference", {"reference_id": "x" * 41}, 1, (400, "VALUE_TOO_LONG")),
        ("completed unpaid", {"state": "COMPLETED"}, 1, (400, "BAD_REQUEST")),
    ],
)
def test_an_update_that_square_would_refuse_changes_nothing(
    shop: Shop, _case: str, changes: Record, version: Any, wanted: tuple[int, str]
) -> None:
    assert code_of(shop.update("O2", changes, version=version)) == wanted
    assert shop.get("orders/O2")["order"]["version"] == 1
    assert shop.book() == []


def test_what_is_shipped_stays_shipped_and_keeps_the_order(shop: Shop) -> None:
    line = {**LINE, "shipped": 1}
    shop.seed({**ORDER, "id": "O3", "lines": [line], "payments": []})
    states = [
        (x["uid"], x["state"], x["entries"][0]["quantity"]) for x in shop.square.orders["O3"]["fulfillments"]
    ]
    assert states == [("F1", "COMPLETED", "1"), ("F2", "PROPOSED", "1")]
    assert code_of(shop.update("O3", CANCEL_F1)) == (400, "BAD_REQUEST")
    rest = {"fulfillments": [{"uid": "F2", "state": "CANCELED"}], "state": "CANCELED"}
    assert code_of(shop.update("O3", rest)) == (400, "BAD_REQUEST")
    assert shop.book() == []


def test_orders_made_elsewhere_have_no_version_and_are_never_updated(shop: Shop) -> None:
    shop.seed({**ORDER, "id": "O3", "is_outside_api": True, "payments": []})
    assert "version" not in shop.get("orders/O3")["order"]
    assert code_of(shop.update("O3", CANCEL_F1)) == (400, "BAD_REQUEST")
    assert code_of(shop.update("O9", CANCEL_F1)) == (404, "NOT_FOUND")


def test_somebody_elses_edit_makes_the_version_read_before_stale(shop: Shop) -> None:
    shop.settle(order="O2", metadata={"picked": "yes"})
    assert code_of(shop.update("O2", CANCEL_F1)) == (409, "VERSION_MISMATCH")
    assert shop.update("O2", CANCEL_F1, version=2)[0] == 200


def test_fields_are_cleared_by_their_dotted_path(shop: Shop) -> None:
    shop.update("O2", {"metadata": {"a": "1", "b": "2"}})
    body = {"order": {"location_id": "L1", "version": 2}, "fields_to_clear": ["metadata.a", "reference_id"]}
    order = shop.ask("PUT", "/v2/orders/O2", body)[1]["order"]
    assert order["metadata"] == {"b": "2"}
    assert "reference_id" not in order


def test_an_authorisation_holds_the_order_until_it_is_released(shop: Shop) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3", "is_captured": False}]})
    cancel = {**CANCEL_F1, "state": "CANCELED"}
    assert code_of(shop.update("O3", cancel)) == (400, "BAD_REQUEST")
    status, body = shop.ask("POST", "/v2/payments/P3/cancel")
    assert (status, body["payment"]["status"], body["payment"]["card_details"]["status"]) == (
        200,
        "CANCELED",
        "VOIDED",
    )
    assert shop.update("O3", cancel)[0] == 200
    assert [
        (x["effect"], x["id"], x["amount_minor"], x["currency"], x["target"]) for x in shop.book("void")
    ] == [("void", "P3", 4190, "USD", {"payment": "P3", "order": "O3"})]
    assert [x["id"] for x in shop.book("cancel_order")] == ["O3"]


def test_orders_are_searched_by_place_state_and_time(shop: Shop) -> None:
    def search(**body: Any) -> tuple[int, Any]:
        return shop.ask("POST", "/v2/orders/search", body)

    shop.now += timedelta(hours=1)
    shop.update("O2", CANCEL_F1)
    since = {"date_time_filter": {"updated_at": {"start_at": "2026-11-23T12:30:00Z"}}}
    sort = {"sort_field": "UPDATED_AT", "sort_order": "ASC"}
    found = search(location_ids=["L1"], query={"filter": since, "sort": sort})[1]
    assert [x["id"] for x in found["orders"]] == ["O2"]
    states = {
        "state_filter": {"states": ["OPEN"]},
        "fulfillment_filter": {"fulfillment_states": ["PROPOSED"]},
    }
    found = search(location_ids=["L1"], query={"filter": states}, return_entries=True)[1]
    assert found["order_entries"] == [{"order_id": "O1", "location_id": "L1", "version": 1}]
    assert search(location_ids=["L9"])[1]["orders"] == []
    assert code_of(search(query={})) == (400, "MISSING_REQUIRED_PARAMETER")
    assert code_of(search(location_ids=["L1"], query={"filter": since})) == (400, "BAD_REQUEST")
    assert code_of(search(location_ids=["L1"], limit=1001)) == (400, "VALUE_TOO_HIGH")


def test_a_search_pages_with_a_cursor_that_belongs_to_its_query(shop: Shop) -> None:
    first = shop.ask("POST", "/v2/orders/search", {"location_ids": ["L1"], "limit": 1})[1]
    rest = {"location_ids": ["L1"], "limit": 1, "cursor": first["cursor"]}
    second = shop.ask("POST", "/v2/orders/search", rest)[1]
    assert {first["orders"][0]["id"], second["orders"][0]["id"]} == {"O1", "O2"}
    assert "cursor" not in second
    other = shop.ask("POST", "/v2/orders/search", rest | {"location_ids": ["L2"]})
    assert code_of(other) == (400, "INVALID_CURSOR")


# ---------------------------------------------------------------- refunds


def test_a_refund_is_pending_and_in_the_book_and_completes_when_settled(shop: Shop) -> None:
    status, body = shop.refund()
    refund = body["refund"]
    assert (status, refund["status"], refund["amount_money"]["amount"]) == (200, "PENDING", 4190)
    payment = shop.get("payments/P1")["payment"]
    assert payment["refund_ids"] == [refund["id"]]
    assert "refunded_money" not in payment

    assert shop.book() == [
        {
            "at": START.isoformat(),
            "vendor": "square",
            "effect": "refund",
            "id": refund["id"],
            "amount_minor": 4190,
            "currency": "USD",
            "target": {"payment": "P1", "order": "O1", "return_order": refund["order_id"]},
            "reference": "refundflow op",
            "idempotency_key": "op-refund",
            "status": "PENDING",
            "by": "api",
        }
    ]
    shop.settle(refund=refund["id"], status="COMPLETED")
    settled = shop.get(f"refunds/{refund['id']}")["refund"]
    assert (settled["status"], shop.get("payments/P1")["payment"]["refunded_money"]["amount"]) == (
        "COMPLETED",
        4190,
    )
    assert shop.paid_back == [4190]


def test_a_refund_makes_a_new_order_and_leaves_the_first_as_it_was(shop: Shop) -> None:
    before = shop.get("orders/O1")
    refund = shop.refund()[1]["refund"]
    made = shop.get(f"orders/{refund['order_id']}")["order"]

    assert refund["order_id"] != "O1"
    assert shop.get("orders/O1") == before
    assert [x["source_order_id"] for x in made["returns"]] == ["O1"]
    assert (made["state"], made["return_amounts"]["total_money"]["amount"]) == ("COMPLETED", 4190)
    assert [(x["tender_id"], x["status"]) for x in made["refunds"]] == [("P1", "PENDING")]
    shop.settle(refund=refund["id"], status="COMPLETED")
    assert shop.get(f"orders/{refund['order_id']}")["order"]["refunds"][0]["status"] == "APPROVED"


def test_a_setting_completes_refunds_at_once_and_a_fault_makes_one_wait(shop: Shop) -> None:
    shop.seed(refunds_complete_at_once=True)
    assert shop.part(1000)[1]["refund"]["status"] == "COMPLETED"
    assert shop.get("payments/P1")["payment"]["refunded_money"]["amount"] == 1000
    shop.fault(Kind.SLOW_PENDING)
    assert shop.part(500)[1]["refund"]["status"] == "PENDING"
    assert shop.paid_back == [1000, 500]


@pytest.mark.parametrize(
    ("_case", "changes", "wanted"),
    [
        ("no key", {"idempotency_key": None}, (400, "MISSING_REQUIRED_PARAMETER")),
        ("an empty key", {"idempotency_key": ""}, (400, "VALUE_TOO_SHORT")),
        ("46 characters", {"idempotency_key": "x" * 46}, (400, "VALUE_TOO_LONG")),
        ("23 characters of two bytes", {"idempotency_key": "é" * 23}, (400, "VALUE_TOO_LONG")),
        ("no payment", {"payment_id": None}, (400, "MISSING_REQUIRED_PARAMETER")),
        ("an unknown payment", {"payment_id": "P9"}, (404, "NOT_FOUND")),
        ("no amount", {"amount_money": None}, (400, "MISSING_REQUIRED_PARAMETER")),
        (
            "more than was paid",
            {"amount_money": {"amount": 4191, "currency": "USD"}},
            (400, "REFUND_AMOUNT_INVALID"),
        ),
        ("nothing", {"amount_money": {"amount": 0, "currency": "USD"}}, (400, "REFUND_AMOUNT_INVALID")),
        ("a decimal", {"amount_money": {"amount": 41.9, "currency": "USD"}}, (400, "EXPECTED_INTEGER")),
        ("a text", {"amount_money": {"amount": "4190", "currency": "USD"}}, (400, "EXPECTED_INTEGER")),
        ("no currency", {"amount_money": {"amount": 1}}, (400, "MISSING_REQUIRED_PARAMETER")),
        (
            "another currency",
            {"amount_money": {"amount": 1, "currency": "EUR"}},
            (400, "UNSUPPORTED_CURRENCY"),
        ),
        ("a long reason", {"reason": "x" * 193}, (400, "VALUE_TOO_LONG")),
        ("a location", {"location_id": "L1"}, (400, "CONFLICTING_PARAMETERS")),
        ("a stale token", {"payment_version_token": "old"}, (409, "VERSION_MISMATCH")),
    ],
)
def test_a_refund_that_square_would_refuse_pays_nothing(
    shop: Shop, _case: str, changes: Record, wanted: tuple[int, str]
) -> None:
    body: Record = {
        "idempotency_key": "k",
        "payment_id": "P1",
        "amount_money": {"amount": 4190, "currency": "USD"},
    }
    sent = {name: value for name, value in (body | changes).items() if value is not None}
    assert code_of(shop.ask("POST", "/v2/refunds", sent)) == wanted
    assert shop.book() == []
    assert "refund_ids" not in shop.get("payments/P1")["payment"]


def test_a_refund_error_has_its_category_and_field(shop: Shop) -> None:
    error = shop.part(5000)[1]["errors"][0]
    assert (error["category"], error["code"], error["field"]) == (
        "REFUND_ERROR",
        "REFUND_AMOUNT_INVALID",
        "amount_money",
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("APPROVED", "REFUND_ERROR_PAYMENT_NEEDS_COMPLETION"),
        ("PENDING", "REFUND_ERROR_PAYMENT_NEEDS_COMPLETION"),
        ("CANCELED", "PAYMENT_NOT_REFUNDABLE"),
        ("FAILED", "PAYMENT_NOT_REFUNDABLE"),
    ],
)
def test_only_completed_payments_are_refunded(shop: Shop, status: str, code: str) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3", "status": status}]})
    assert code_of(shop.refund(payment_id="P3")) == (400, code)
    assert shop.book() == []


def test_a_payment_older_than_a_year_is_not_refunded(shop: Shop) -> None:
    shop.now += timedelta(days=365)
    assert shop.part(10)[0] == 200
    shop.now += timedelta(seconds=1)
    assert code_of(shop.part(20)) == (400, "PAYMENT_NOT_REFUNDABLE")
    assert shop.paid_back == [10]


@pytest.mark.parametrize(
    ("mode", "second", "shown"),
    [
        ("held", (400, "REFUND_ALREADY_PENDING"), None),
        ("blocking", (400, "REFUND_ALREADY_PENDING"), None),
        ("counted", (400, "REFUND_AMOUNT_INVALID"), 4190),
        ("ignored", (200, None), None),
    ],
)
def test_what_a_pending_refund_does_to_the_next_is_a_setting(
    shop: Shop, mode: str, second: tuple[int, str | None], shown: int | None
) -> None:
    shop.seed(pending_refunds=mode)
    shop.refund("one")
    status, body = shop.refund("two")
    assert (status, body.get("errors", [{"code": None}])[0]["code"]) == second
    assert shop.get("payments/P1")["payment"].get("refunded_money", {}).get("amount") == shown
    assert shop.paid_back == ([4190, 4190] if mode == "ignored" else [4190])


def test_several_parts_are_refunded_while_they_fit(shop: Shop) -> None:
    assert [shop.part(1000)[0], shop.part(3190)[0]] == [200, 200]
    assert code_of(shop.part(1)) == (400, "REFUND_ALREADY_PENDING")
    for id in shop.get("payments/P1")["payment"]["refund_ids"]:
        shop.settle(refund=id, status="COMPLETED")
    assert code_of(shop.part(2)) == (400, "REFUND_AMOUNT_INVALID")
    assert shop.paid_back == [1000, 3190]


def test_a_failed_refund_cannot_be_repeated_and_a_rejected_one_can(shop: Shop) -> None:
    first = shop.refund("one")[1]["refund"]["id"]
    shop.settle(refund=first, status="REJECTED")
    second = shop.refund("two")[1]["refund"]["id"]
    shop.settle(refund=second, status="FAILED")
    assert code_of(shop.refund("three")) == (400, "PAYMENT_NOT_REFUNDABLE")
    assert [(x["effect"], x["id"], x["amount_minor"]) for x in shop.book()] == [
        ("refund", first, 4190),
        ("refund_rejected", first, 4190),
        ("refund", second, 4190),
        ("refund_failed", second, 4190),
    ]
    with pytest.raises(ValueError, match="does not go from FAILED"):
        shop.settle(refund=second, status="COMPLETED")


def test_each_tender_of_an_order_is_a_payment_of_its_own(shop: Shop) -> None:
    payments = [{"id": "PA", "amount_minor": 1000}, {"id": "PB", "amount_minor": 3190}]
    shop.seed({**ORDER, "id": "O3", "payments": payments})
    order = shop.get("orders/O3")["order"]
    assert [(x["id"], x["payment_id"], x["amount_money"]["amount"]) for x in order["tenders"]] == [
        ("PA", "PA", 1000),
        ("PB", "PB", 3190),
    ]
    assert code_of(shop.refund(payment_id="PA")) == (400, "REFUND_AMOUNT_INVALID")
    shop.part(1000, payment_id="PA")
    shop.part(3190, payment_id="PB")
    assert [(x["target"]["payment"], x["amount_minor"]) for x in shop.book("refund")] == [
        ("PA", 1000),
        ("PB", 3190),
    ]


@pytest.mark.parametrize("gateway", ["CASH", "EXTERNAL"])
def test_cash_and_external_refunds_are_only_written_down(shop: Shop, gateway: str) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3", "gateway": gateway, "transaction": "ch_1"}]})
    assert shop.refund(payment_id="P3")[1]["refund"]["status"] == "COMPLETED"
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [("record_refund", 4190)]


def test_the_version_token_stops_a_refund_after_somebody_elses(shop: Shop) -> None:
    token = shop.get("payments/P1")["payment"]["version_token"]
    shop.settle(payment="P1", dashboard_refund={"amount_minor": 100, "reason": "goodwill"})
    assert code_of(shop.part(10, payment_version_token=token)) == (409, "VERSION_MISMATCH")
    fresh = shop.get("payments/P1")["payment"]["version_token"]
    assert shop.part(20, payment_version_token=fresh)[0] == 200
    assert [(x["amount_minor"], x["by"]) for x in shop.book("refund")] == [(100, "dashboard"), (20, "api")]


def test_refunds_are_listed_late_without_a_filter_by_payment(shop: Shop) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3"}]})
    first = shop.part(10)[1]["refund"]["id"]
    second = shop.part(20, payment_id="P3")[1]["refund"]["id"]
    assert shop.get("refunds") == {}
    assert shop.get("payments/P1")["payment"]["refund_ids"] == [first]

    shop.now += timedelta(seconds=5)
    listed = shop.get("refunds", payment_id="P1", sort_order="ASC")["refunds"]
    assert {x["id"] for x in listed} == {first, second}
    shop.settle(refund=first, status="COMPLETED")
    assert {x["status"] for x in shop.get("refunds")["refunds"]} == {"PENDING"}
    shop.now += timedelta(seconds=5)
    assert [x["id"] for x in shop.get("refunds", status="COMPLETED")["refunds"]] == [first]
    since = "2026-11-23T12:00:04Z"
    assert shop.get("refunds", begin_time=since) == {}
    assert [x["id"] for x in shop.get("refunds", updated_at_begin_time=since)["refunds"]] == [first]
    page = shop.get("refunds", limit=1)
    assert len(page["refunds"]) == 1
    assert len(shop.get("refunds", limit=1, cursor=page["cursor"])["refunds"]) == 1
    assert len(shop.get("refunds", limit=500)["refunds"]) == 2
    assert shop.get("refunds", location_id="L9") == {}


def test_a_stricter_square_refuses_parameters_that_it_does_not_know(shop: Shop) -> None:
    shop.seed(unknown_parameters="refused")
    assert code_of(shop.ask("GET", "/v2/refunds?payment_id=P1")) == (400, "UNKNOWN_QUERY_PARAMETER")
    assert code_of(shop.refund(amuont=1)) == (400, "UNKNOWN_BODY_PARAMETER")
    assert shop.book() == []


@pytest.mark.parametrize(
    ("_case", "query", "code"),
    [
        ("a limit of nothing", "limit=0", "VALUE_TOO_LOW"),
        ("a limit in words", "limit=ten", "EXPECTED_INTEGER"),
        ("a time without a zone", "begin_time=2026-11-23T12:00:00", "INVALID_TIME"),
        ("a day that does not exist", "begin_time=2026-02-30T12:00:00Z", "INVALID_TIME"),
        ("an end before the begin", "begin_time=2027-01-01T00:00:00Z", "INVALID_TIME_RANGE"),
        ("an unknown status", "status=DONE", "INVALID_ENUM_VALUE"),
        ("a cursor of nobody's", "cursor=abc", "INVALID_CURSOR"),
    ],
)
def test_a_list_checks_its_parameters(shop: Shop, _case: str, query: str, code: str) -> None:
    assert code_of(shop.ask("GET", f"/v2/refunds?{query}")) == (400, code)


def test_payments_are_listed_newest_first(shop: Shop) -> None:
    shop.seed({**ORDER, "id": "O3", "created_at": "2026-11-20T09:00:00+01:00", "payments": [{"id": "P3"}]})
    found = shop.get("payments")["payments"]
    assert [(x["id"], x["created_at"]) for x in found] == [
        ("P1", "2026-11-23T12:00:00.000Z"),
        ("P3", "2026-11-20T08:00:00.000Z"),
    ]
    assert [x["id"] for x in shop.get("payments", end_time="2026-11-21T00:00:00Z")["payments"]] == ["P3"]
    assert shop.get("payments", total=4189) == {}
    assert found[0]["buyer_email_address"] == "ada@example.com"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("CANCELED", "DELAYED_TRANSACTION_CANCELED"),
        ("FAILED", "DELAYED_TRANSACTION_FAILED"),
        ("COMPLETED", "BAD_REQUEST"),
        ("PENDING", "BAD_REQUEST"),
    ],
)
def test_only_an_approved_payment_is_released(shop: Shop, status: str, code: str) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3", "status": status}]})
    assert code_of(shop.ask("POST", "/v2/payments/P3/cancel", {})) == (400, code)
    assert shop.book() == []


# ---------------------------------------------------------------- idempotency


def test_the_same_key_and_body_get_the_first_answer_and_pay_once(shop: Shop) -> None:
    first = shop.refund()
    shop.settle(refund=first[1]["refund"]["id"], status="COMPLETED")
    assert shop.refund() == first
    assert shop.paid_back == [4190]


def test_the_same_key_with_another_body_is_refused(shop: Shop) -> None:
    shop.part(1000, "one")
    result = shop.part(1001, "one")
    assert code_of(result) == (400, "IDEMPOTENCY_KEY_REUSED")
    assert result[1]["errors"][0]["field"] == "idempotency_key"
    assert shop.paid_back == [1000]


def test_a_key_is_kept_for_24_hours_and_then_pays_again(shop: Shop) -> None:
    shop.part(1000, "one")
    shop.now += timedelta(hours=23, minutes=59)
    shop.part(1000, "one")
    assert shop.paid_back == [1000]
    shop.now += timedelta(minutes=1)
    shop.part(1000, "one")
    assert shop.paid_back == [1000, 1000]


def test_a_refusal_is_remembered_under_its_key(shop: Shop) -> None:
    token = shop.get("payments/P1")["payment"]["version_token"]
    refused = shop.part(10, "one", payment_version_token="old")
    assert shop.part(10, "one", payment_version_token="old") == refused
    assert code_of(shop.part(10, "one", payment_version_token=token)) == (400, "IDEMPOTENCY_KEY_REUSED")
    assert shop.part(10, "two", payment_version_token=token)[0] == 200

    shop.seed(keeps_refusals=False)
    assert code_of(shop.part(20, "three", payment_version_token=token)) == (409, "VERSION_MISMATCH")
    fresh = shop.get("payments/P1")["payment"]["version_token"]
    assert shop.part(20, "three", payment_version_token=fresh)[0] == 200
    assert shop.paid_back == [10, 20]


def test_what_failed_validation_leaves_its_key_free(shop: Shop) -> None:
    assert code_of(shop.part(10, "one", payment_id="P9")) == (404, "NOT_FOUND")
    assert shop.part(10, "one")[0] == 200


def test_a_repeated_order_update_shows_the_newest_order_and_acts_once(shop: Shop) -> None:
    shop.update("O2", CANCEL_F1, "op")
    shop.settle(order="O2", metadata={"a": "b"})
    status, body = shop.update("O2", CANCEL_F1, "op")
    assert (status, body["order"]["version"], body["order"]["metadata"]) == (200, 3, {"a": "b"})
    assert code_of(shop.update("O2", {}, "op")) == (400, "IDEMPOTENCY_KEY_REUSED")
    assert len(shop.book("cancel_fulfillment")) == 1


def test_a_second_call_while_the_first_is_under_way_is_a_conflict(shop: Shop) -> None:
    seen: list[tuple[int, str]] = []

    def wait(_: float) -> bool:
        seen.append(code_of(shop.refund()))
        return False

    shop.world.stopping.wait = wait  # type: ignore[method-assign, assignment]  # the pause is where the second comes in
    shop.fault(Kind.LATENCY, latency_s=0.1)
    assert shop.refund()[0] == 200
    assert seen == [(409, "CONFLICT")]
    assert shop.paid_back == [4190]


# ---------------------------------------------------------------- stock


def test_a_return_raises_stock_and_is_noted_once(shop: Shop) -> None:
    status, body = shop.move()
    assert (status, body["counts"][0]["quantity"], shop.stock) == (200, "12", 12)
    line = body["changes"][0]["adjustment"]
    assert [
        (x["effect"], x["id"], x["sku"], x["quantity"], x["reference"], x["idempotency_key"], x["target"])
        for x in shop.book()
    ] == [
        (
            "restock",
            line["id"],
            "MUG",
            2,
            "op",
            "op-stock",
            {"order": None, "catalog_object_id": "V-MUG", "location_id": "L1"},
        )
    ]
    assert shop.move() == (status, body)
    assert shop.stock == 12
    assert len(shop.book()) == 1


@pytest.mark.parametrize(
    ("_case", "changes", "code"),
    [
        ("sold to in stock", {"from_state": "SOLD"}, "INVALID_VALUE"),
        ("to a read-only state", {"to_state": "RESERVED_FOR_SALE"}, "INVALID_VALUE"),
        ("from an unknown state", {"from_state": "GONE"}, "INVALID_ENUM_VALUE"),
        ("no from state", {"from_state": None}, "MISSING_REQUIRED_PARAMETER"),
        ("a number", {"quantity": 2}, "EXPECTED_STRING"),
        ("half a mug", {"quantity": "0.5"}, "INVALID_VALUE"),
        ("nothing", {"quantity": "0"}, "INVALID_VALUE"),
        ("less than nothing", {"quantity": "-1"}, "INVALID_VALUE"),
        ("a day and a second ago", {"occurred_at": "2026-11-22T11:59:59Z"}, "INVALID_TIME"),
        ("in a second", {"occurred_at": "2026-11-23T12:00:01Z"}, "INVALID_TIME"),
        ("no time", {"occurred_at": None}, "MISSING_REQUIRED_PARAMETER"),
        ("an unknown item", {"catalog_object_id": "V9"}, "NOT_FOUND"),
        ("an unknown place", {"location_id": "L9"}, "NOT_FOUND"),
    ],
)
def test_a_change_that_square_would_refuse_moves_no_stock(
    shop: Shop, _case: str, changes: Record, code: str
) -> None:
    assert code_of(shop.move(**changes))[1] == code
    assert shop.stock == 10
    assert shop.book() == []


def test_the_unproven_ways_into_stock_are_settings(shop: Shop) -> None:
    shop.seed(sold_returns_to_stock=True, checks_occurred_at=False)
    assert shop.move(from_state="SOLD", occurred_at="2020-01-01T00:00:00Z")[0] == 200
    assert shop.stock == 12


def test_one_bad_change_spoils_the_whole_batch(shop: Shop) -> None:
    good = {"catalog_object_id": "V-MUG", "location_id": "L1", "quantity": "1"}
    good |= {"from_state": "NONE", "to_state": "IN_STOCK", "occurred_at": "2026-11-23T12:00:00Z"}
    changes = [{"type": "ADJUSTMENT", "adjustment": good | {"quantity": q}} for q in ("1", "x")]
    result = shop.ask(
        "POST", "/v2/inventory/changes/batch-create", {"idempotency_key": "k", "changes": changes}
    )
    assert code_of(result) == (400, "INVALID_VALUE")
    assert result[1]["errors"][0]["field"] == "changes[1].adjustment.quantity"
    assert (shop.stock, shop.book()) == (10, [])


def test_selling_wasting_and_counting_move_stock_too(shop: Shop) -> None:
    shop.move("3", "a", from_state="IN_STOCK", to_state="SOLD")
    shop.move("1", "b", from_state="IN_STOCK", to_state="WASTE")
    for key, quantity in (("c", "9"), ("d", "9")):
        count = {"catalog_object_id": "V-MUG", "location_id": "L1", "state": "IN_STOCK", "quantity": quantity}
        count["occurred_at"] = "2026-11-23T12:00:00Z"
        changes = [{"type": "PHYSICAL_COUNT", "physical_count": count}]
        shop.ask("POST", "/v2/inventory/changes/batch-create", {"idempotency_key": key, "changes": changes})
    assert shop.stock == 9
    assert [(x["effect"], x["quantity"], x["by"]) for x in shop.book()] == [
        ("adjust_stock", -3, "adjustment"),
        ("adjust_stock", -1, "adjustment"),
        ("restock", 3, "physical_count"),
    ]


def test_changes_are_found_by_item_and_time_never_by_reference(shop: Shop) -> None:
    def find(**body: Any) -> list[str]:
        changes = shop.ask("POST", "/v2/inventory/changes/batch-retrieve", body)[1].get("changes", [])
        return [each["adjustment"]["reference_id"] for each in changes]

    shop.move("1", "a", reference_id="one")
    shop.now += timedelta(minutes=1)
    shop.move("1", "b", reference_id="two", occurred_at="2026-11-23T11:00:00Z")
    assert find(catalog_object_ids=["V-MUG"]) == ["two", "one"]
    assert find(reference_id="one") == ["two", "one"]
    assert find(updated_after="2026-11-23T12:00:00Z") == ["two"]
    assert find(updated_before="2026-11-23T12:01:00Z") == ["one"]
    assert find(catalog_object_ids=["V9"]) == []
    assert find(location_ids=["L9"]) == []
    assert find(states=["WASTE"]) == []
    assert find(types=["PHYSICAL_COUNT"]) == []
    assert find(limit=1) == ["two"]
    counts = shop.ask("POST", "/v2/inventory/counts/batch-retrieve", {"states": ["SOLD"]})[1]["counts"]
    assert [(x["catalog_object_id"], x["quantity"]) for x in counts] == [("V-MUG", "12")]


def test_a_refund_leaves_stock_alone_unless_a_setting_says_otherwise(shop: Shop) -> None:
    shop.part(4190)
    assert (shop.stock, shop.book("restock")) == (10, [])
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3"}]}, refund_restocks=True)
    shop.part(1000, payment_id="P3")
    assert shop.stock == 10
    shop.part(3190, payment_id="P3")
    assert shop.stock == 12
    assert [(x["id"], x["sku"], x["quantity"], x["target"]["order"]) for x in shop.book("restock")] == [
        ("LI1", "MUG", 2, "O3")
    ]


# ---------------------------------------------------------------- disputes


@pytest.mark.parametrize(
    ("state", "is_refunded"),
    [
        ("EVIDENCE_REQUIRED", False),
        ("PROCESSING", False),
        ("LOST", False),
        ("ACCEPTED", False),
        ("WON", True),
        ("INQUIRY_EVIDENCE_REQUIRED", True),
        ("INQUIRY_CLOSED", True),
    ],
)
def test_a_dispute_blocks_refunds(shop: Shop, state: str, is_refunded: bool) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3", "dispute": {"state": state}}]})
    result = shop.refund(payment_id="P3")
    if is_refunded:
        assert (result[0], shop.paid_back) == (200, [4190])
    else:
        assert code_of(result) == (400, "PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE")
        assert shop.book() == []


def test_an_inquiry_blocks_refunds_where_the_setting_says_so(shop: Shop) -> None:
    dispute = {"state": "INQUIRY_PROCESSING"}
    shop.seed(
        {**ORDER, "id": "O3", "payments": [{"id": "P3", "dispute": dispute}]}, inquiry_blocks_refunds=True
    )
    assert code_of(shop.refund(payment_id="P3")) == (400, "PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE")


def test_a_dispute_is_accepted_once_and_the_money_is_gone(shop: Shop) -> None:
    made = shop.settle(payment="P1", open_dispute={"id": "D1", "state": "INQUIRY_EVIDENCE_REQUIRED"})
    assert (made["version"], made["disputed_payment"]) == (1, {"payment_id": "P1"})
    assert shop.get("disputes", states="INQUIRY_EVIDENCE_REQUIRED")["disputes"] == [made]
    assert shop.get("disputes", states="WON,LOST") == {}
    status, body = shop.ask("POST", "/v2/disputes/D1/accept")
    assert (status, body["dispute"]["state"], body["dispute"]["version"]) == (200, "ACCEPTED", 2)
    assert code_of(shop.ask("POST", "/v2/disputes/D1/accept")) == (400, "BAD_REQUEST")
    assert [(x["effect"], x["amount_minor"], x["target"]) for x in shop.book()] == [
        ("accept_dispute", 4190, {"payment": "P1"}),
        ("dispute_withdrawn", 4190, {"payment": "P1"}),
    ]


def test_a_dispute_that_is_won_gives_the_money_back(shop: Shop) -> None:
    shop.settle(payment="P1", open_dispute={"id": "D1", "amount_minor": 1000})
    shop.settle(dispute="D1", status="WON")
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [
        ("dispute_withdrawn", 1000),
        ("dispute_reinstated", 1000),
    ]
    assert shop.refund()[0] == 200


# ---------------------------------------------------------------- faults


def test_a_refusal_on_demand_is_the_vendors_and_can_be_named(shop: Shop) -> None:
    shop.fault(Kind.REFUSE)
    shop.fault(Kind.REFUSE, code="PAYMENT_NOT_REFUNDABLE")
    shop.fault(Kind.REFUSE, "update_order")
    shop.fault(Kind.REFUSE_AUTH, "get_payment")
    assert code_of(shop.refund("one")) == (400, "REFUND_DECLINED")
    assert code_of(shop.refund("two")) == (400, "PAYMENT_NOT_REFUNDABLE")
    assert code_of(shop.refund("one")) == (400, "REFUND_DECLINED")
    assert shop.update("O2", CANCEL_F1)[1]["errors"][0]["detail"] == PAID_ORDER
    assert code_of(shop.ask("GET", "/v2/payments/P1")) == (401, "ACCESS_TOKEN_EXPIRED")
    assert shop.book() == []


@pytest.mark.parametrize(("code", "status"), [("FAILED", 400), ("FAILED_200", 200)])
def test_a_failed_refund_can_come_beside_its_error(shop: Shop, code: str, status: int) -> None:
    shop.fault(Kind.REFUSE, code=code)
    got, body = shop.refund()
    assert (got, body["refund"]["status"], body["errors"][0]["code"]) == (status, "FAILED", "REFUND_DECLINED")
    assert shop.get("payments/P1")["payment"]["refund_ids"] == [body["refund"]["id"]]
    assert shop.book() == []
    assert code_of(shop.refund("two")) == (400, "PAYMENT_NOT_REFUNDABLE")


@pytest.mark.parametrize(
    ("status", "category", "code"),
    [
        (429, "RATE_LIMIT_ERROR", "RATE_LIMITED"),
        (500, "API_ERROR", "INTERNAL_SERVER_ERROR"),
        (503, "API_ERROR", "SERVICE_UNAVAILABLE"),
        (504, "API_ERROR", "GATEWAY_TIMEOUT"),
    ],
)
def test_trouble_before_the_act_leaves_the_key_free(
    shop: Shop, status: int, category: str, code: str
) -> None:
    shop.fault(Kind.STATUS, status=status)
    result = shop.refund()
    assert code_of(result) == (status, code)
    assert result[1]["errors"][0]["category"] == category
    assert shop.refund()[0] == 200
    assert shop.paid_back == [4190]


def test_a_500_after_the_act_hides_a_refund_that_its_key_still_knows(shop: Shop) -> None:
    shop.fault(Kind.STATUS, status=500, is_after_effect=True)
    assert shop.refund()[0] == 500
    assert (shop.refund()[0], shop.paid_back) == (200, [4190])


def test_a_lost_reply_is_found_on_the_payment_and_under_its_key(shop: Shop) -> None:
    shop.fault(Kind.LOST_REPLY)
    body: Record = {"idempotency_key": "op-refund", "payment_id": "P1", "reason": "refundflow op"}
    body["amount_money"] = {"amount": 4190, "currency": "USD"}
    assert shop.call("POST", "/v2/refunds", body) == Cut(How.RESET)
    ids = shop.get("payments/P1")["payment"]["refund_ids"]
    assert [shop.get(f"refunds/{id}")["refund"]["reason"] for id in ids] == ["refundflow op"]
    assert shop.refund()[1]["refund"]["id"] == ids[0]
    assert shop.paid_back == [4190]


def test_a_lost_request_did_nothing(shop: Shop) -> None:
    shop.fault(Kind.LOST_REQUEST)
    assert shop.call("POST", "/v2/refunds", {}) == Cut(How.RESET)
    assert shop.book() == []


def test_a_refund_marked_to_fail_late_fails_when_told(shop: Shop) -> None:
    shop.seed(refunds_complete_at_once=True)
    shop.fault(Kind.LATE_FAILURE)
    assert shop.refund()[1]["refund"]["status"] == "COMPLETED"
    assert [x["status"] for x in shop.world.settle("square", {})] == ["FAILED"]
    assert shop.get("payments/P1")["payment"]["refunded_money"]["amount"] == 0
    assert [x["effect"] for x in shop.book()] == ["refund", "refund_failed"]
    assert shop.world.settle("square", {}) == []


# ---------------------------------------------------------------- events


def test_effects_are_told_signed_to_whoever_subscribed(shop: Shop) -> None:
    shop.world.webhooks.subscribe("square", Subscription("https://shop.example/hooks", "key"))
    refund = shop.refund()[1]["refund"]
    shop.settle(refund=refund["id"], status="COMPLETED")
    shop.update("O2", CANCEL_F1)
    shop.settle(payment="P1", open_dispute={"id": "D1"})
    shop.settle(dispute="D1", status="LOST")
    shop.world.webhooks.wait_idle()

    events = [json.loads(body) for _, _, body in shop.posted]
    assert [each["type"] for each in events] == [
        *("refund.created", "payment.updated", "refund.updated", "payment.updated"),
        *("order.updated", "order.fulfillment.updated", "dispute.created", "dispute.state.updated"),
    ]
    assert len({each["event_id"] for each in events}) == 8
    assert events[0]["data"]["object"]["refund"]["status"] == "PENDING"
    assert events[2]["data"]["object"]["refund"]["status"] == "COMPLETED"
    assert events[4]["data"]["object"]["order_updated"]["version"] == 2
    assert events[5]["data"]["object"]["order_fulfillment_updated"]["fulfillment_update"] == [
        {"fulfillment_uid": "F1", "old_state": "PROPOSED", "new_state": "CANCELED"}
    ]
    assert events[7]["data"]["object"]["dispute"]["state"] == "LOST"
    for url, headers, body in shop.posted:
        signed = shop.square.sign(Event("", "", body), url, "key")
        assert headers["x-square-hmacsha256-signature"] == signed.headers["x-square-hmacsha256-signature"]


def test_an_event_asked_for_twice_is_the_same_event(shop: Shop) -> None:
    made = shop.square.event_for("order.updated", "O1")
    assert shop.square.event_for("order.updated", "O1") == made
    for topic, id in (("order.updated", "O9"), ("refund.created", "R9"), ("labor.timecard.updated", "O1")):
        with pytest.raises(NoSuchObjectError):
            shop.square.event_for(topic, id)


def test_signatures_are_the_published_ones(shop: Shop) -> None:
    vectors = load(specs("square") / "webhook_signature_vectors.json")["vectors"]
    for vector in vectors:
        event = Event("e", "t", vector["body"].encode())
        signed = shop.square.sign(event, vector["notification_url"], vector["signature_key"])
        is_same = signed.headers["x-square-hmacsha256-signature"] == vector["signature"]
        assert (is_same, signed.body) == (vector["valid"], vector["body"].encode())
    assert [each["valid"] for each in vectors] == [True, True, False, False]


def test_a_subscription_made_over_the_api_delivers_with_its_own_key(shop: Shop) -> None:
    described = {
        "name": "refundflow",
        "event_types": ["refund.created"],
        "notification_url": "https://shop.example/sq",
    }
    body = {"idempotency_key": "k", "subscription": described}
    made = shop.ask("POST", "/v2/webhooks/subscriptions", body)[1]["subscription"]
    assert shop.ask("POST", "/v2/webhooks/subscriptions", body)[1]["subscription"] == made
    tested = shop.ask("POST", f"/v2/webhooks/subscriptions/{made['id']}/test", {})[1][
        "subscription_test_result"
    ]
    shop.refund()
    shop.world.webhooks.wait_idle()
    assert tested["status_code"] == 200
    assert [json.loads(x)["type"] for _, _, x in shop.posted] == ["refund.created", "refund.created"]
    url, headers, sent = shop.posted[1]
    signed = shop.square.sign(Event("", "", sent), url, made["signature_key"]).headers
    assert headers["x-square-hmacsha256-signature"] == signed["x-square-hmacsha256-signature"]
    plain = body | {
        "idempotency_key": "l",
        "subscription": described | {"notification_url": "http://a.example"},
    }
    assert code_of(shop.ask("POST", "/v2/webhooks/subscriptions", plain)) == (400, "INVALID_VALUE")


def test_past_events_are_searched_by_type_for_28_days(shop: Shop) -> None:
    shop.refund()
    wanted = {"query": {"filter": {"event_types": ["refund.created"]}}}
    found = shop.ask("POST", "/v2/events", wanted)[1]["events"]
    assert [(x["type"], x["data"]["type"]) for x in found] == [("refund.created", "refund")]
    page = shop.ask("POST", "/v2/events", {"limit": 1})[1]
    assert page["events"][0]["type"] == "payment.updated"
    assert shop.ask("POST", "/v2/events", {"limit": 1, "cursor": page["cursor"]})[1]["events"] == found
    shop.now += timedelta(days=28, seconds=1)
    assert shop.ask("POST", "/v2/events", wanted)[1]["events"] == []


# ---------------------------------------------------------------- the controls


def test_a_seed_says_what_it_made_and_leaves_the_book_empty(shop: Shop) -> None:
    payment = {"id": "P3", "refunds": [{"amount_minor": 190, "reason": "old"}], "dispute": {"id": "D3"}}
    (made,) = shop.seed({**ORDER, "id": "O3", "currency": "JPY", "payments": [payment]})
    assert (made["total_minor"], made["currency"], made["version"], made["state"]) == (4190, "JPY", 1, "OPEN")
    assert made["lines"] == [{"uid": "LI1", "catalog_object_id": "V-MUG", "stock": 10}]
    assert (made["payments"][0]["dispute"], made["fulfillments"]) == ("D3", ["F1"])
    assert shop.get("payments/P3")["payment"]["refunded_money"] == {"amount": 190, "currency": "JPY"}
    assert shop.get("refunds")["refunds"][0]["reason"] == "old"
    assert (shop.book(), shop.posted) == ([], [])


@pytest.mark.parametrize(
    "data",
    [
        {"settings": {"refunds_completed": True}},
        {"settings": {"pending_refunds": "lost"}},
        {"orders": [{"id": "O9"}]},
        {"orders": [{"lines": [{"unit_minor": "15.00"}]}]},
        {"orders": [{**ORDER, "state": "PAID"}]},
        {"orders": [{**ORDER, "payments": [{"status": "CAPTURED"}]}]},
        {"orders": [{**ORDER, "fulfillments": [{"state": "SHIPPED"}]}]},
    ],
)
def test_a_seed_that_cannot_be_read_is_refused(shop: Shop, data: Record) -> None:
    with pytest.raises(ValueError, match="cannot seed square"):
        shop.world.seed({"square": data})
    assert set(shop.square.orders) == {"O1", "O2"}


def test_settling_moves_what_time_and_people_move(shop: Shop) -> None:
    shop.seed({**ORDER, "id": "O3", "payments": [{"id": "P3", "status": "APPROVED"}]})
    assert shop.settle(payment="P3", status="COMPLETED")["card_details"]["status"] == "CAPTURED"
    shop.settle(order="O3", fulfillment="F1", status="COMPLETED")
    assert shop.settle(order="O3", status="COMPLETED")["state"] == "COMPLETED"
    assert code_of(shop.update("O3", CANCEL_F1, version=3)) == (400, "BAD_REQUEST")
    for wrong, why in (
        ({"order": "O1", "status": "CANCELED"}, PAID_ORDER),
        ({"payment": "P1", "status": "CANCELED"}, "a payment does not go from COMPLETED"),
        ({"moon": "full"}, "settle what"),
    ):
        with pytest.raises(ValueError, match=why):
            shop.world.settle("square", wrong)
    for absent in ({"refund": "R9", "status": "FAILED"}, {"stock": "CUP"}):
        with pytest.raises(NoSuchObjectError):
            shop.world.settle("square", absent)
    assert shop.book() == []


def test_a_reset_forgets_everything(shop: Shop) -> None:
    shop.refund()
    shop.world.reset("square")
    assert shop.book() == []
    assert code_of(shop.ask("GET", "/v2/payments/P1")) == (404, "NOT_FOUND")


# ---------------------------------------------------------------- the published description


def test_answers_fit_the_published_description(shop: Shop) -> None:
    described = specs("square") / "square.openapi.json"
    shop.seed(
        {
            **ORDER,
            "id": "O3",
            "payments": [{"id": "PC", "gateway": "CASH", "amount_minor": 190}, {"id": "P3"}],
        },
        {
            **ORDER,
            "id": "O4",
            "payments": [{"id": "P4", "is_captured": False}, {"id": "P5", "amount_minor": 0}],
        },
        list_delay_s=0,
    )
    refund = shop.refund()
    id = refund[1]["refund"]["id"]
    dispute = shop.settle(payment="P3", open_dispute={})["id"]
    hook = {
        "name": "n",
        "event_types": ["order.updated"],
        "notification_url": "https://shop.example/sq",
    }
    change = shop.move()
    answers = [
        ("POST", "/v2/refunds", refund),
        ("GET", "/v2/refunds", shop.ask("GET", "/v2/refunds")),
        ("GET", "/v2/refunds/{refund_id}", shop.ask("GET", f"/v2/refunds/{id}")),
        ("GET", "/v2/payments", shop.ask("GET", "/v2/payments")),
        ("GET", "/v2/payments/{payment_id}", shop.ask("GET", "/v2/payments/PC")),
        ("POST", "/v2/payments/{payment_id}/cancel", shop.ask("POST", "/v2/payments/P4/cancel")),
        ("GET", "/v2/orders/{order_id}", shop.ask("GET", "/v2/orders/O3")),
        ("PUT", "/v2/orders/{order_id}", shop.update("O2", CANCEL_F1)),
        ("POST", "/v2/orders/search", shop.ask("POST", "/v2/orders/search", {"location_ids": ["L1"]})),
        ("POST", "/v2/inventory/changes/batch-create", change),
        *(
            ("POST", path, shop.ask("POST", path, {}))
            for path in ("/v2/inventory/changes/batch-retrieve", "/v2/inventory/counts/batch-retrieve")
        ),
        ("GET", "/v2/disputes", shop.ask("GET", "/v2/disputes")),
        ("GET", "/v2/disputes/{dispute_id}", shop.ask("GET", f"/v2/disputes/{dispute}")),
        (
            "POST",
            "/v2/disputes/{dispute_id}/accept",
            shop.ask("POST", f"/v2/disputes/{dispute}/accept"),
        ),
        (
            "POST",
            "/v2/webhooks/subscriptions",
            shop.ask("POST", "/v2/webhooks/subscriptions", {"subscription": hook}),
        ),
        ("POST", "/v2/events", shop.ask("POST", "/v2/events", {})),
    ]
    for method, template, (status, body) in answers:
        assert status == 200, (template, body)
        check_response(described, method, template, status, body, declared_only=template != "/v2/events")
    for error in (shop.part(9999)[1], shop.ask("GET", "/v2/nothing")[1]):
        check_document(described, error["errors"][0], "/components/schemas/Error")


def test_events_fit_the_published_description(shop: Shop) -> None:
    described = specs("square") / "square.openapi.json"
    refund = shop.refund()[1]["refund"]["id"]
    shop.settle(payment="P1", open_dispute={"id": "D1"})
    for topic, id, schema in (
        ("refund.created", refund, "RefundCreatedEvent"),
        ("payment.updated", "P1", "PaymentUpdatedEvent"),
        ("order.updated", "O1", "OrderUpdatedEvent"),
        ("order.fulfillment.updated", "O1", "OrderFulfillmentUpdatedEvent"),
        ("dispute.created", "D1", "DisputeCreatedEvent"),
    ):
        check_document(described, shop.square.event_for(topic, id).body, f"/components/schemas/{schema}")
