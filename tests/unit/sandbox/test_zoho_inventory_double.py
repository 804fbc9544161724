"""The practice Zoho Inventory: its tokens, what it voids, credits and ignores, and what its book holds."""

from __future__ import annotations

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
    Fault,
    Kind,
    NoSuchObjectError,
    Record,
    Subscription,
    World,
)
from refundflow.sandbox.zoho_inventory import (
    CLEARING_ACCOUNT_ID,
    CLIENT_ID,
    CLIENT_SECRET,
    ORGANIZATION_ID,
    REFRESH_TOKEN,
    ZohoInventory,
)
from tests.support.specs import check_response, specs

NAME = "zoho-inventory"
CREDENTIALS = {
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "refresh_token": REFRESH_TOKEN,
    "grant_type": "refresh_token",
}
TWO_LINES = [
    {"sku": "SHEET", "title": "Acrylic sheet", "quantity": 2, "unit_minor": 2550, "stock": 10},
    {"sku": "FRAME", "title": "Frame", "quantity": 1, "unit_minor": 1000, "stock": 5},
]
SHIPPED = [{"sku": "SHEET", "quantity": 3, "unit_minor": 2550, "stock": 7, "shipped": 3}]
PAID = [{"gateway": "stripe", "amount_minor": 6600, "transaction": "pi_1"}]


class Shop:
    """A practice Zoho with a token in hand, and a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.deliveries: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([ZohoInventory], clock=lambda: self.now, send=self.take)
        self.vendor = self.world.vendor(NAME)
        self.token = self.sign_in().body["access_token"]

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((url, dict(headers), body))
        return 200

    def receive(self, call: Call) -> Answer:
        answer = self.world.receive(NAME, call)
        assert isinstance(answer, Answer)
        json.loads(answer.payload)
        return answer

    def sign_in(self, host: str = "", **changes: str) -> Answer:
        headers = {"content-type": "application/x-www-form-urlencoded", **({"host": host} if host else {})}
        body = urlencode({**CREDENTIALS, **changes}).encode()
        return self.receive(Call("POST", "/oauth/v2/token", headers=headers, body=body))

    def call(self, method: str, path: str, data: Any = None, **query: Any) -> Call:
        asked = {"organization_id": ORGANIZATION_ID, **query}
        headers = {"authorization": f"Zoho-oauthtoken {self.token}"}
        if data is not None:
            headers["content-type"] = "application/json"
        body = b"" if data is None else json.dumps(data).encode()
        return Call(method, f"/inventory/v1/{path}", urlencode(asked), headers, body)

    def send(self, method: str, path: str, data: Any = None, **query: Any) -> Answer:
        return self.receive(self.call(method, path, data, **query))

    def get(self, path: str, **query: Any) -> Any:
        answer = self.send("GET", path, **query)
        assert (answer.status, answer.body["code"]) == (200, 0), answer.body
        return answer.body

    def order(self, lines: Any = TWO_LINES, **more: Any) -> Record:
        settings = more.pop("settings", {})
        described = {"settings": settings, "orders": [{"lines": lines, **more}]}
        made: Record = self.world.seed({NAME: described})[NAME]["orders"][0]
        return made

    def void(self, order: Record) -> Answer:
        return self.send("POST", f"salesorders/{order['id']}/status/void")

    def fault(self, kind: Kind, operation: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def stock(self, sku: str = "SHEET") -> tuple[int, int]:
        """What is on hand, and what of it can be sold."""
        found = self.settle(item=sku)
        return found["on_hand"], found["available"]

    def send_back(self, order: Record, quantity: int = 2, credit_only: int = 0, **more: Any) -> Answer:
        line = {
            "item_id": order["lines"][0]["item_id"],
            "salesorder_item_id": order["lines"][0]["id"],
            "quantity": quantity,
            "non_receive_quantity": credit_only,
        }
        data = {
            "salesreturn_number": "RMA-1042-1",
            "reason": "refundflow rf_1",
            "line_items": [line],
            "date": "2026-11-23",
            **more,
        }
        return self.send("POST", "salesreturns", data, salesorder_id=order["id"])

    def take_in(self, returned: Record, quantity: int = 2, **more: Any) -> Answer:
        lines = [{"line_item_id": returned["line_items"][0]["line_item_id"], "quantity": quantity}]
        data = {"date": "2026-11-24", "line_items": lines, "notes": "rf_1", **more}
        return self.send("POST", "salesreturnreceives", data, salesreturn_id=returned["salesreturn_id"])

    def credit_line(self, order: Record, index: int = 0, **more: Any) -> Record:
        invoice = order["invoices"][0]
        return {
            "item_id": order["lines"][index]["item_id"],
            "quantity": 1,
            "rate": 25.50,
            "invoice_id": invoice["id"],
            "invoice_item_id": invoice["lines"][index]["id"],
            "is_item_shipped": False,
            **more,
        }

    def credit(self, order: Record, *lines: Record, query: Any = None, **more: Any) -> Answer:
        data = {
            "customer_id": order["customer_id"],
            "date": "2026-11-23",
            "creditnote_number": "CN-1042-1",
            "reference_number": "rf_1",
            "line_items": list(lines) or [self.credit_line(order)],
            **more,
        }
        asked = {"invoice_id": order["invoices"][0]["id"], "ignore_auto_number_generation": "true"}
        return self.send("POST", "creditnotes", data, **(asked if query is None else query))

    def refund(self, note: Record, amount: Any = 25.50, **more: Any) -> Answer:
        data = {
            "date": "2026-11-23",
            "refund_mode": "banktransfer",
            "reference_number": "re_3Abc",
            "amount": amount,
            "from_account_id": CLEARING_ACCOUNT_ID,
            "description": "refundflow rf_1",
            **more,
        }
        return self.send("POST", f"creditnotes/{note['creditnote_id']}/refunds", data)

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.vendor.book.lines()]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def said(answer: Answer) -> tuple[int, int]:
    return answer.status, answer.body["code"]


# ---------------------------------------------------------------- tokens and the door


def test_a_token_lasts_an_hour_and_leads_back_to_the_host_that_was_asked(shop: Shop) -> None:
    answer = shop.sign_in(host="127.0.0.1:8010")

    assert (answer.status, answer.body["expires_in"], answer.body["token_type"]) == (200, 3600, "Bearer")
    assert answer.body["api_domain"] == "http://127.0.0.1:8010/zoho-inventory"
    shop.now += timedelta(minutes=59, seconds=59)
    assert shop.send("GET", "salesorders").status == 200
    shop.now += timedelta(seconds=1)
    assert said(shop.send("GET", "salesorders")) == (401, 14)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "1000.SOMEBODY"}, "invalid_client"),
        ({"client_secret": "wrong"}, "invalid_client_secret"),
        ({"refresh_token": "1000.gone"}, "invalid_code"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    ],
)
def test_a_refused_token_call_answers_200_with_an_error(
    shop: Shop, changes: dict[str, str], error: str
) -> None:
    answer = shop.sign_in(**changes)
    assert (answer.status, answer.body) == (200, {"error": error})

    shop.order(settings={"token_error_status": 400})
    assert shop.sign_in(**changes).status == 400


def test_the_eleventh_token_in_ten_minutes_is_denied_and_the_first_ones_stay_good(shop: Shop) -> None:
    shop.now += timedelta(minutes=1)
    answers = [shop.sign_in() for _ in range(10)]

    assert ["access_token" in each.body for each in answers] == [True] * 9 + [False]
    assert (answers[-1].status, answers[-1].body["error"]) == (200, "Access Denied")
    assert shop.send("GET", "salesorders").status == 200
    shop.now += timedelta(minutes=8, seconds=59)
    assert "access_token" not in shop.sign_in().body
    shop.now += timedelta(seconds=1)
    assert "access_token" in shop.sign_in().body


def test_parameters_of_the_token_call_may_stand_in_the_query(shop: Shop) -> None:
    answer = shop.receive(Call("POST", "/oauth/v2/token", urlencode(CREDENTIALS)))
    assert answer.body["access_token"].startswith("1000.")


def test_a_revoked_refresh_token_gives_no_token_any_more(shop: Shop) -> None:
    assert shop.settle(token="revoked") == {"tokens": 1}
    assert said(shop.send("GET", "salesorders")) == (401, 14)
    assert shop.sign_in().body == {"error": "invalid_code"}


def test_only_the_vendors_own_word_opens_the_door(shop: Shop) -> None:
    call = shop.call("GET", "salesorders")
    headers = [{}, {"authorization": f"Bearer {shop.token}"}, {"authorization": "Zoho-oauthtoken stale"}]
    answers = [shop.receive(Call("GET", call.path, call.query, each)) for each in headers]
    assert [said(each) for each in answers] == [(401, 14)] * 3


def test_every_call_but_the_list_of_organizations_names_the_organization_in_its_query(shop: Shop) -> None:
    order = shop.order()
    body = {"organization_id": ORGANIZATION_ID}
    answers = [
        shop.send("GET", "salesorders", organization_id=""),
        shop.send("GET", f"salesorders/{order['id']}", organization_id="1"),
        shop.send("POST", f"salesorders/{order['id']}/status/void", body, organization_id=""),
    ]

    assert [said(each) for each in answers] == [(400, 4029)] * 3
    assert shop.get("organizations", organization_id="")["organizations"][0]["organization_id"] == (
        ORGANIZATION_ID
    )
    assert shop.effects == []


def test_a_missing_scope_looks_like_a_stale_token_but_for_its_code(shop: Shop) -> None:
    order = shop.order()
    shop.world.seed({NAME: {"scopes": ["ZohoInventory.salesorders.READ", "salesorders.UPDATE"]}})

    assert said(shop.void(order)) == (401, 57)
    assert shop.get(f"salesorders/{order['id']}")["salesorder"]["status"] == "confirmed"
    assert shop.effects == []


def test_there_is_no_cancel_and_a_wrong_method_is_405(shop: Shop) -> None:
    order = shop.order()
    assert said(shop.send("POST", f"salesorders/{order['id']}/cancel")) == (404, 5)
    assert said(shop.send("PUT", f"salesorders/{order['id']}/status/void")) == (405, 37)
    assert shop.effects == []


def test_the_limit_of_calls_a_minute_can_be_practised(shop: Shop) -> None:
    shop.order(settings={"calls_per_minute": 2})
    answers = [shop.send("GET", "salesorders") for _ in range(3)]
    assert [each.status for each in answers] == [200, 200, 429]
    assert (answers[2].body["code"], answers[2].headers["Retry-After"]) == (44, "60")
    shop.now += timedelta(seconds=60)
    assert shop.send("GET", "salesorders").status == 200


# ---------------------------------------------------------------- looking up


def test_an_order_is_shown_with_its_lines_packages_invoices_and_amounts_in_major_units(shop: Shop) -> None:
    made = shop.order(
        [{**TWO_LINES[0], "shipped": 1}, {**TWO_LINES[1], "packed": 1}],
        number="SO-1042",
        reference="#1042",
        shipping_minor=500,
        invoice=True,
        payments=PAID,
    )
    shown = shop.get(f"salesorders/{made['id']}")["salesorder"]

    assert (shown["salesorder_number"], shown["reference_number"], shown["total"]) == ("SO-1042", "#1042", 66)
    counted = [
        (x["rate"], x["quantity"], x["quantity_packed"], x["quantity_shipped"], x["quantity_invoiced"])
        for x in shown["line_items"]
    ]
    assert counted == [(25.5, 2, 1, 1, 2), (10, 1, 1, 0, 1)]
    assert [x["status"] for x in shown["packages"]] == ["shipped", "not_shipped"]
    assert [(x["status"], x["total"], x["balance"]) for x in shown["invoices"]] == [("paid", 66, 0)]
    # Beyond what a double-precision number can hold: a reader that makes numbers of ids loses digits.
    assert str(int(float(shown["salesorder_id"]))) != shown["salesorder_id"]


def test_orders_are_found_by_number_or_reference_and_references_may_be_shared(shop: Shop) -> None:
    first, second = shop.order(reference="#1042"), shop.order(reference="#1042")
    shop.order(reference="#1043")

    found = shop.get("salesorders", reference_number="#1042")["salesorders"]
    assert [x["salesorder_id"] for x in found] == [second["id"], first["id"]]
    found = shop.get("salesorders", salesorder_number=first["number"])["salesorders"]
    assert [x["salesorder_id"] for x in found] == [first["id"]]
    shop.order(settings={"is_order_filtered": False})
    assert len(shop.get("salesorders", reference_number="#1042")["salesorders"]) == 4


def test_lists_page_and_a_page_size_above_200_is_cut_down(shop: Shop) -> None:
    made = [shop.order() for _ in range(3)]
    first = shop.get("salesorders", page=1, per_page=2)
    second = shop.get("salesorders", page=2, per_page=2)

    assert (len(first["salesorders"]), first["page_context"]["has_more_page"]) == (2, True)
    assert [x["salesorder_id"] for x in second["salesorders"]] == [made[0]["id"]]
    assert second["page_context"]["has_more_page"] is False
    assert shop.get("salesorders", per_page=500)["page_context"]["per_page"] == 200
    assert said(shop.send("GET", "salesorders", page=0)) == (400, 2)


def test_a_filter_by_last_modification_is_ignored_unless_chosen_yet_sorting_by_it_works(shop: Shop) -> None:
    old, young = shop.order(), shop.order()
    shop.now += timedelta(minutes=30)
    shop.settle(salesorder=old["id"], flag="unfulfilled")
    since = shop.now.isoformat()

    listed = shop.get("salesorders", last_modified_time=since, sort_column="last_modified_time")
    assert [x["salesorder_id"] for x in listed["salesorders"]] == [old["id"], young["id"]]
    shop.order(settings={"is_filtered_by_modified": True}, created="2026-11-01T00:00:00+00:00")
    listed = shop.get("salesorders", last_modified_time=since)
    assert [x["salesorder_id"] for x in listed["salesorders"]] == [old["id"]]


def test_filters_of_returns_and_packages_are_silently_ignored(shop: Shop) -> None:
    for number in ("RMA-1", "RMA-2"):
        shop.send_back(shop.order(SHIPPED), 1, salesreturn_number=number)

    listed = shop.get("salesreturns", salesreturn_number="RMA-9", salesorder_id="1")["salesreturns"]
    assert [x["salesreturn_number"] for x in listed] == ["RMA-2", "RMA-1"]
    assert len(shop.get("packages", salesorder_id="1", filter_by="Status.NotShipped")["packages"]) == 2


def test_what_is_not_there_and_what_is_no_id_are_told_apart(shop: Shop) -> None:
    assert said(shop.send("GET", "salesorders/4600000000000000001")) == (404, 1002)
    assert said(shop.send("GET", "salesorders/SO-1042")) == (400, 2)
    assert said(shop.send("POST", "invoices/4600000000000000001/status/void")) == (404, 1002)


def test_only_captured_payments_reach_zoho_and_without_an_invoice_they_stay_unused(shop: Shop) -> None:
    held = {"gateway": "paypal", "amount_minor": 500, "is_captured": False}
    shop.order(payments=[{"gateway": "stripe", "amount_minor": 6100, "transaction": "pi_1"}, held])

    (paid,) = shop.get("customerpayments", reference_number="pi_1")["customerpayments"]
    assert (paid["amount"], paid["unused_amount"], paid["payment_mode"]) == (61, 61, "stripe")
    assert shop.get("customerpayments", reference_number="pi_2")["customerpayments"] == []
    assert shop.get(f"customerpayments/{paid['payment_id']}")["payment"]["invoices"] == []


# ---------------------------------------------------------------- voiding


def test_voiding_frees_committed_stock_and_is_booked_line_by_line(shop: Shop) -> None:
    order = shop.order(number="SO-1042")
    assert shop.stock() == (10, 8)
    answer = shop.void(order)

    assert said(answer) == (200, 0)
    assert shop.get(f"salesorders/{order['id']}")["salesorder"]["status"] == "void"
    assert (shop.stock(), shop.stock("FRAME")) == ((10, 10), (5, 5))
    book = shop.vendor.book.lines()
    target = {"order": order["id"], "number": "SO-1042"}
    assert [(x["effect"], x["id"], x["target"]) for x in book] == [
        ("cancel_order", order["id"], target),
        ("restock", order["lines"][0]["id"], target),
        ("restock", order["lines"][1]["id"], target),
    ]
    assert [(x["sku"], x["quantity"], x["stock"]) for x in book[1:]] == [("SHEET", 2, 10), ("FRAME", 1, 5)]


def test_a_draft_had_committed_nothing_so_nothing_comes_back(shop: Shop) -> None:
    assert said(shop.void(shop.order(status="draft"))) == (200, 0)
    assert shop.effects == ["cancel_order"]


@pytest.mark.parametrize(
    ("_case", "more", "code"),
    [
        ("void", {"status": "void"}, 36101),
        ("closed", {"status": "closed"}, 36101),
        ("shipped", {"lines": SHIPPED}, 36102),
        ("partly shipped", {"lines": [{**TWO_LINES[0], "shipped": 1}]}, 36102),
        ("packed", {"lines": [{**TWO_LINES[0], "packed": 1}]}, 36103),
        ("invoiced", {"invoice": True}, 36104),
        ("invoiced and paid", {"invoice": True, "payments": PAID}, 36104),
    ],
)
def test_an_order_that_may_not_be_voided_is_refused(shop: Shop, _case: str, more: Record, code: int) -> None:
    order = shop.order(**more)
    assert said(shop.void(order)) == (400, code)
    assert shop.effects == []


def test_a_second_void_is_refused_or_by_choice_accepted_and_booked_once(shop: Shop) -> None:
    order = shop.order(lines=TWO_LINES[:1])
    assert [said(shop.void(order)) for _ in range(2)] == [(200, 0), (400, 36101)]
    shop.order(settings={"is_second_void_refused": False})
    assert said(shop.void(order)) == (200, 0)
    assert shop.effects == ["cancel_order", "restock"]


def test_a_packed_order_is_voided_once_its_packages_are_deleted(shop: Shop) -> None:
    order = shop.order([{**TWO_LINES[0], "packed": 2}])
    assert said(shop.send("DELETE", f"packages/{order['packages'][0]}")) == (200, 0)
    assert said(shop.void(order)) == (200, 0)
    assert shop.effects == ["delete_package", "cancel_order", "restock"]


def test_a_shipped_package_cannot_be_deleted(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    assert said(shop.send("DELETE", f"packages/{order['packages'][0]}")) == (400, 36501)
    shown = shop.get(f"packages/{order['packages'][0]}")["package"]
    assert (shown["salesorder_id"], shown["status"]) == (order["id"], "shipped")
    assert shop.effects == []


def test_an_unpaid_invoice_is_voided_first_and_then_the_order(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True)
    invoice = order["invoices"][0]["id"]
    assert said(shop.send("POST", f"invoices/{invoice}/status/void")) == (200, 0)
    assert said(shop.send("POST", f"invoices/{invoice}/status/void")) == (400, 36401)
    assert said(shop.void(order)) == (200, 0)

    assert shop.effects == ["void_invoice", "cancel_order", "restock"]
    line = shop.vendor.book.lines("void_invoice")[0]
    assert (line["id"], line["amount_minor"], line["currency"]) == (invoice, 5100, "EUR")


def test_voiding_a_paid_invoice_works_and_turns_its_payment_to_unused_credit(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}])
    shop.send("POST", f"invoices/{order['invoices'][0]['id']}/status/void")

    assert shop.effects == ["void_invoice", "unapply_payment"]
    (paid,) = shop.get("customerpayments")["customerpayments"]
    assert (paid["amount"], paid["unused_amount"], paid["invoices"]) == (51, 51, [])


def test_a_voided_order_can_be_confirmed_again_and_commits_its_stock_again(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1])
    shop.void(order)
    assert said(shop.send("POST", f"salesorders/{order['id']}/status/confirmed")) == (200, 0)
    assert shop.stock() == (10, 8)
    assert said(shop.send("POST", f"salesorders/{order['id']}/status/confirmed")) == (400, 36105)
    assert shop.effects == ["cancel_order", "restock", "reopen_order"]


def test_somebody_may_ship_while_we_cancel(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1])
    shown = shop.settle(salesorder=order["id"], ship="all")
    assert (shown["status"], shop.stock()) == ("fulfilled", (8, 8))
    assert said(shop.void(order)) == (400, 36102)
    with pytest.raises(ValueError, match="0 units left"):
        shop.settle(salesorder=order["id"], pack={"SHEET": 1})
    assert shop.effects == []


# ---------------------------------------------------------------- returns


def test_a_return_raises_the_stock_only_when_it_is_received(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    answer = shop.send_back(order, 2)
    returned = answer.body["salesreturn"]
    assert (answer.status, returned["salesreturn_number"], shop.stock()) == (201, "RMA-1042-1", (7, 7))
    received = shop.take_in(returned, 2)

    assert (received.status, received.body["code"], shop.stock()) == (201, 0, (9, 9))
    assert shop.effects == ["create_sales_return", "restock"]
    line = shop.vendor.book.lines("restock")[0]
    assert (line["id"], line["sku"], line["quantity"]) == (order["lines"][0]["id"], "SHEET", 2)
    assert (line["target"]["order"], line["reference"]) == (order["id"], "rf_1")
    shown = shop.get(f"salesreturns/{returned['salesreturn_id']}")["salesreturn"]
    assert (shown["receive_status"], shown["salesorder_id"]) == ("received", order["id"])
    listed = shop.get(f"salesorders/{order['id']}")["salesorder"]["salesreturns"]
    assert [x["salesreturn_number"] for x in listed] == ["RMA-1042-1"]


def test_credit_only_units_are_never_received(shop: Shop) -> None:
    returned = shop.send_back(shop.order(SHIPPED), 3, 1).body["salesreturn"]
    assert said(shop.take_in(returned, 3)) == (400, 36202)
    assert said(shop.take_in(returned, 1)) == (201, 0)
    assert said(shop.take_in(returned, 2)) == (400, 36202)
    assert said(shop.take_in(returned, 1)) == (201, 0)
    assert [x["quantity"] for x in shop.vendor.book.lines("restock")] == [1, 1]


def test_a_parent_in_the_body_is_dropped_and_the_return_belongs_to_nobody(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    data = {
        "salesorder_id": order["id"],
        "line_items": [{"item_id": order["lines"][0]["item_id"], "quantity": 9}],
    }
    orphan = shop.send("POST", "salesreturns", data)
    assert (said(orphan), orphan.body["salesreturn"]["salesorder_id"]) == ((201, 0), "")
    assert shop.get(f"salesorders/{order['id']}")["salesorder"]["salesreturns"] == []
    shop.take_in(orphan.body["salesreturn"], 9)
    (line,) = shop.vendor.book.lines("restock")
    assert (line["quantity"], line["target"]["order"]) == (9, None)

    shop.order(settings={"is_orphan_return_made": False})
    assert said(shop.send("POST", "salesreturns", data)) == (400, 2)


def test_a_receive_needs_its_return_in_the_query(shop: Shop) -> None:
    returned = shop.send_back(shop.order(SHIPPED)).body["salesreturn"]
    data = {
        "salesreturn_id": returned["salesreturn_id"],
        "line_items": [{"line_item_id": returned["line_items"][0]["line_item_id"], "quantity": 1}],
    }
    assert said(shop.send("POST", "salesreturnreceives", data)) == (400, 2)
    assert shop.effects == ["create_sales_return"]


def test_the_number_of_a_return_guards_against_a_second_one(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    assert [said(shop.send_back(order, 1)) for _ in range(2)] == [(201, 0), (400, 1001)]
    shop.order(settings={"is_return_number_kept": False})
    second = shop.send_back(order, 1)
    assert (second.status, second.body["salesreturn"]["salesreturn_number"] == "RMA-1042-1") == (201, False)


@pytest.mark.parametrize(
    ("_case", "lines", "change", "code"),
    [
        ("nothing shipped", TWO_LINES[:1], {}, 36201),
        ("more than shipped", [{**TWO_LINES[0], "shipped": 1}], {"quantity": 2}, 36201),
        ("no units", SHIPPED, {"quantity": 0}, 2),
        ("half a unit", SHIPPED, {"quantity": 0.5}, 2),
        ("more credit-only than all", SHIPPED, {"non_receive_quantity": 5}, 2),
        ("id as a number", SHIPPED, {"item_id": 4815000000044208}, 2),
        ("an unknown item", SHIPPED, {"item_id": "4815000000044208"}, 2006),
        ("another order's line", SHIPPED, {"salesorder_item_id": "4815000000044208"}, 2),
    ],
)
def test_a_return_that_zoho_would_refuse_is_refused(
    shop: Shop, _case: str, lines: Any, change: Record, code: int
) -> None:
    order = shop.order(lines)
    line = {
        "item_id": order["lines"][0]["item_id"],
        "salesorder_item_id": order["lines"][0]["id"],
        "quantity": 1,
        "non_receive_quantity": 0,
        **change,
    }
    answer = shop.send("POST", "salesreturns", {"line_items": [line]}, salesorder_id=order["id"])
    assert answer.body["code"] == code
    assert shop.effects == []


def test_units_are_returned_once_over_all_returns(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    shop.send_back(order, 2)
    assert said(shop.send_back(order, 2, salesreturn_number="RMA-2")) == (400, 36201)
    assert said(shop.send_back(order, 1, salesreturn_number="RMA-2")) == (201, 0)


# ---------------------------------------------------------------- credit notes and refunds


def test_an_unshipped_invoice_line_is_credited_without_touching_the_stock(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}])
    answer = shop.credit(order)
    note = answer.body["creditnote"]

    assert (answer.status, note["creditnote_number"], note["status"]) == (201, "CN-1042-1", "open")
    assert (note["total"], note["balance"], shop.stock()) == (25.5, 25.5, (10, 8))
    (line,) = shop.vendor.book.lines()
    assert (line["effect"], line["id"]) == ("credit_note", note["creditnote_id"])
    assert (line["amount_minor"], line["currency"], line["reference"]) == (2550, "EUR", "rf_1")
    found = shop.get("creditnotes", reference_number="rf_1", filter_by="Status.Open")["creditnotes"]
    assert [x["creditnote_id"] for x in found] == [note["creditnote_id"]]
    assert shop.get("creditnotes", reference_number="rf_2")["creditnotes"] == []


def test_crediting_unshipped_lines_frees_their_stock_where_that_is_chosen(shop: Shop) -> None:
    settings = {"is_stock_freed_by_credit": True, "is_credited_order_voidable": True}
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}], settings=settings)
    shop.credit(order, shop.credit_line(order, quantity=2))
    assert shop.stock() == (10, 10)
    assert said(shop.void(order)) == (200, 0)

    assert shop.effects == ["credit_note", "restock", "cancel_order"]
    (line,) = shop.vendor.book.lines("restock")
    assert (line["quantity"], line["reference"]) == (2, "rf_1")


def test_an_order_whose_invoice_is_credited_stays_unvoidable_unless_chosen(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}])
    shop.credit(order, shop.credit_line(order, quantity=2))
    assert said(shop.void(order)) == (400, 36104)
    shop.order(settings={"is_credited_order_voidable": True})
    assert said(shop.void(order)) == (200, 0)
    assert [x["quantity"] for x in shop.vendor.book.lines("restock")] == [2]


def test_a_return_is_credited_on_separate_lines_for_receivable_and_credit_only_units(shop: Shop) -> None:
    order = shop.order(SHIPPED, invoice=True, payments=[{"amount_minor": 7650}])
    returned = shop.send_back(order, 3, 1).body["salesreturn"]
    shop.take_in(returned, 2)
    back = {"salesreturn_item_id": returned["line_items"][0]["line_item_id"], "is_item_shipped": True}
    whole = shop.credit_line(order, quantity=3, is_returned_to_stock=True, **back)
    to_stock = shop.credit_line(order, quantity=2, is_returned_to_stock=True, **back)
    credit_only = shop.credit_line(order, quantity=1, is_returned_to_stock=False, **back)

    assert said(shop.credit(order, whole)) == (400, 36308)
    assert said(shop.credit(order, to_stock, {**credit_only, "is_returned_to_stock": None})) == (400, 4)
    assert said(shop.credit(order, to_stock, credit_only)) == (201, 0)
    again = shop.credit(order, to_stock, creditnote_number="CN-1042-2")
    assert said(again) == (400, 36304)
    assert [(x["effect"], x["amount_minor"]) for x in shop.vendor.book.lines()] == [
        ("create_sales_return", None),
        ("restock", None),
        ("credit_note", 7650),
    ]
    shown = shop.get(f"salesreturns/{returned['salesreturn_id']}")["salesreturn"]
    assert [x["creditnote_number"] for x in shown["creditnotes"]] == ["CN-1042-1"]


@pytest.mark.parametrize(
    ("_case", "line", "code"),
    [
        ("more than invoiced", {"quantity": 3}, 36304),
        ("shipped without a return", {"is_item_shipped": True}, 36305),
        ("shipped unsaid", {"is_item_shipped": None}, 4),
        ("unshipped from a return", {"salesreturn_item_id": "4815000000044208"}, 2),
        ("another item", {"item_id": "4815000000044208"}, 2006),
        ("an unknown invoice", {"invoice_id": "4815000000044208"}, 1002),
        ("an unknown invoice line", {"invoice_item_id": "4815000000044208"}, 2),
        ("a rate as a text", {"rate": "25.50"}, 2),
        ("a rate with three decimals", {"rate": 25.505}, 2),
        ("a negative rate", {"rate": -1}, 2),
    ],
)
def test_a_credit_note_that_zoho_would_refuse_is_refused(
    shop: Shop, _case: str, line: Record, code: int
) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True)
    answer = shop.credit(order, shop.credit_line(order, **line))
    assert answer.body["code"] == code
    assert shop.effects == []


@pytest.mark.parametrize(
    ("_case", "more", "code"),
    [
        ("no customer", {"customer_id": ""}, 2),
        ("no date", {"date": ""}, 2),
        ("a date in another form", {"date": "23.11.2026"}, 2),
        ("no lines", {"line_items": []}, 4),
        ("a long reference", {"reference_number": "r" * 101}, 15),
        ("no number of its own", {"creditnote_number": ""}, 4),
    ],
)
def test_a_credit_note_without_what_it_needs_is_refused(
    shop: Shop, _case: str, more: Record, code: int
) -> None:
    order = shop.order(invoice=True)
    assert said(shop.credit(order, **more)) == (400, code)
    assert shop.effects == []


def test_shipped_units_cannot_be_credited_as_unshipped(shop: Shop) -> None:
    order = shop.order([{**TWO_LINES[0], "shipped": 1}], invoice=True, payments=[{"amount_minor": 5100}])
    assert said(shop.credit(order, shop.credit_line(order, quantity=2))) == (400, 36306)
    one = shop.credit_line(order)
    assert said(shop.credit(order, one, one)) == (400, 36306)
    assert said(shop.credit(order, one)) == (201, 0)


def test_an_own_number_counts_only_with_the_flag_and_then_guards_against_a_second_note(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}])
    parent = {"invoice_id": order["invoices"][0]["id"]}
    unflagged = shop.credit(order, query=parent).body["creditnote"]
    assert unflagged["creditnote_number"] != "CN-1042-1"
    assert [said(shop.credit(order)) for _ in range(2)] == [(201, 0), (400, 1001)]
    assert shop.effects == ["credit_note", "credit_note"]


def test_a_note_of_an_unpaid_invoice_pays_the_invoice_first_and_leaves_nothing_to_refund(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True)
    note = shop.credit(order).body["creditnote"]

    assert (note["status"], note["balance"]) == ("closed", 0)
    assert note["invoices"][0]["amount"] == 25.5
    invoice = shop.get(f"invoices/{order['invoices'][0]['id']}")["invoice"]
    assert (invoice["status"], invoice["balance"]) == ("partially_paid", 25.5)
    assert said(shop.refund(note)) == (400, 36311)
    assert said(shop.send("POST", f"invoices/{invoice['invoice_id']}/status/void")) == (400, 36402)


def test_an_invoice_named_in_the_body_alone_is_not_the_notes_parent(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True)
    body = {"invoice_id": order["invoices"][0]["id"], "ignore_auto_number_generation": True}
    note = shop.credit(order, query={}, **body).body["creditnote"]
    assert (note["invoices"], note["balance"], note["creditnote_number"]) == ([], 25.5, "CN-1042-1")


def test_a_refund_is_written_down_and_closes_the_note_when_all_is_refunded(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}])
    note = shop.credit(order).body["creditnote"]
    first = shop.refund(note, 20)
    refund = first.body["creditnote_refund"]
    assert (said(first), refund["amount"], refund["reference_number"]) == ((200, 0), 20, "re_3Abc")
    assert said(shop.refund(note, 5.51)) == (400, 36302)
    assert said(shop.refund(note, 5.50)) == (200, 0)

    path = f"creditnotes/{note['creditnote_id']}"
    assert (shop.get(path)["creditnote"]["status"], shop.get(path)["creditnote"]["balance"]) == ("closed", 0)
    listed = shop.get(f"{path}/refunds")["creditnote_refunds"]
    assert [(x["amount"], x["reference_number"]) for x in listed] == [(5.5, "re_3Abc"), (20, "re_3Abc")]
    one = shop.get(f"{path}/refunds/{refund['creditnote_refund_id']}")["creditnote_refund"]
    assert one["amount"] == 20
    lines = shop.vendor.book.lines("record_refund")
    assert [(x["amount_minor"], x["currency"], x["reference"]) for x in lines] == [
        (2000, "EUR", "re_3Abc"),
        (550, "EUR", "re_3Abc"),
    ]
    assert lines[0]["id"] == refund["creditnote_refund_id"]
    assert lines[0]["target"] == {"creditnote": note["creditnote_id"], "order": order["id"]}


def test_nothing_stops_the_same_refund_from_being_recorded_twice(shop: Shop) -> None:
    order = shop.order(TWO_LINES[:1], invoice=True, payments=[{"amount_minor": 5100}])
    note = shop.credit(order, shop.credit_line(order, quantity=2)).body["creditnote"]
    assert [said(shop.refund(note)) for _ in range(2)] == [(200, 0), (200, 0)]
    assert [x["amount_minor"] for x in shop.vendor.book.lines("record_refund")] == [2550, 2550]


@pytest.mark.parametrize(
    ("_case", "more", "wanted"),
    [
        ("nothing", {"amount": 0}, (400, 2)),
        ("an amount as a text", {"amount": "25.50"}, (400, 2)),
        ("three decimals", {"amount": 25.505}, (400, 2)),
        ("no account", {"from_account_id": ""}, (400, 2)),
        ("an unknown account", {"from_account_id": "4815000000044208"}, (404, 1002)),
        ("no date", {"date": ""}, (400, 2)),
    ],
)
def test_a_refund_that_zoho_would_refuse_is_refused(
    shop: Shop, _case: str, more: Record, wanted: tuple[int, int]
) -> None:
    order = shop.order(invoice=True, payments=PAID)
    note = shop.credit(order).body["creditnote"]
    assert said(shop.refund(note, **more)) == wanted
    assert shop.effects == ["credit_note"]


def test_a_draft_note_is_opened_before_it_can_be_refunded(shop: Shop) -> None:
    order = shop.order(invoice=True, payments=PAID, settings={"is_note_draft": True})
    note = shop.credit(order).body["creditnote"]
    assert note["status"] == "draft"
    assert said(shop.refund(note)) == (400, 36311)
    path = f"creditnotes/{note['creditnote_id']}"
    assert [said(shop.send("POST", f"{path}/converttoopen")) for _ in range(2)] == [(200, 0), (400, 36309)]
    assert said(shop.refund(note)) == (200, 0)
    assert shop.effects == ["credit_note", "open_credit_note", "record_refund"]


def test_a_note_is_voided_only_while_nothing_is_refunded(shop: Shop) -> None:
    order = shop.order(invoice=True, payments=PAID)
    kept = shop.credit(order).body["creditnote"]
    shop.refund(kept)
    gone = shop.credit(order, creditnote_number="CN-1042-2").body["creditnote"]
    paths = [f"creditnotes/{each['creditnote_id']}/void" for each in (kept, gone, gone)]

    assert [said(shop.send("POST", path)) for path in paths] == [(400, 36310), (200, 0), (400, 36310)]
    (line,) = shop.vendor.book.lines("void_credit_note")
    assert (line["id"], line["amount_minor"]) == (gone["creditnote_id"], 2550)
    # What the voided note had credited can be credited again.
    assert said(shop.credit(order, creditnote_number="CN-1042-3")) == (201, 0)


def test_yen_have_no_decimals(shop: Shop) -> None:
    lines = [{"sku": "SHEET", "quantity": 1, "unit_minor": 2550}]
    order = shop.order(lines, currency="JPY", invoice=True, payments=[{"amount_minor": 2550}])
    assert said(shop.credit(order, shop.credit_line(order, rate=25.5))) == (400, 2)
    note = shop.credit(order, shop.credit_line(order, rate=2550)).body["creditnote"]
    assert said(shop.refund(note, 2550)) == (200, 0)
    lines = shop.vendor.book.lines()
    assert [(x["effect"], x["amount_minor"], x["currency"]) for x in lines] == [
        ("credit_note", 2550, "JPY"),
        ("record_refund", 2550, "JPY"),
    ]


def test_an_adjustment_raises_the_stock_as_restock_and_lowers_it_as_another_effect(shop: Shop) -> None:
    order = shop.order()
    data = {
        "date": "2026-11-23",
        "reason": "Cancelled order",
        "reference_number": "rf_1",
        "adjustment_type": "quantity",
        "line_items": [
            {"item_id": order["lines"][0]["item_id"], "quantity_adjusted": 2},
            {"item_id": order["lines"][1]["item_id"], "quantity_adjusted": -5},
        ],
    }
    assert said(shop.send("POST", "inventoryadjustments", data)) == (200, 0)
    assert said(shop.send("POST", "inventoryadjustments", data)) == (400, 36601)
    assert said(shop.send("POST", "inventoryadjustments", {**data, "adjustment_type": "value"})) == (400, 2)
    assert said(shop.send("POST", "inventoryadjustments", {**data, "reason": ""})) == (400, 4)

    lines = shop.vendor.book.lines()
    assert [(x["effect"], x["sku"], x["quantity"], x["reference"]) for x in lines] == [
        ("restock", "SHEET", 2, "rf_1"),
        ("adjust_inventory", "FRAME", -5, "rf_1"),
    ]
    assert (shop.stock(), shop.stock("FRAME")) == ((12, 10), (0, -1))


def test_a_body_that_is_not_json_is_refused(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    call = shop.call("POST", "salesreturns", salesorder_id=order["id"])
    form = {**call.headers, "content-type": "application/x-www-form-urlencoded"}
    answers = [
        shop.receive(Call("POST", call.path, call.query, form, b"JSONString=%7B%7D")),
        shop.send("POST", "salesreturns", [], salesorder_id=order["id"]),
    ]
    assert [said(each) for each in answers] == [(400, 9)] * 2


# ---------------------------------------------------------------- faults


def test_a_refusal_may_hide_behind_a_200(shop: Shop) -> None:
    order = shop.order()
    shop.fault(Kind.REFUSE, "void_sales_order", status=200, code="36012")
    shop.fault(Kind.REFUSE, "void_sales_order", code="Not today.")

    assert said(shop.void(order)) == (200, 36012)
    refused = shop.void(order)
    assert (refused.status, refused.body["message"]) == (400, "Not today.")
    assert shop.effects == []
    shop.order(invoice=True, id="4600000000000000401", settings={"refusal_status": 200})
    assert said(shop.void({"id": "4600000000000000401"})) == (200, 36104)


@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [
        ("void_sales_order", "POST", "salesorders/1/status/void"),
        ("create_sales_return", "POST", "salesreturns"),
        ("receive_sales_return", "POST", "salesreturnreceives"),
        ("create_credit_note", "POST", "creditnotes"),
        ("create_refund", "POST", "creditnotes/1/refunds"),
        ("void_invoice", "POST", "invoices/1/status/void"),
        ("delete_package", "DELETE", "packages/1"),
        ("create_adjustment", "POST", "inventoryadjustments"),
    ],
)
def test_each_effect_can_be_refused_and_its_credentials_too(
    shop: Shop, operation: str, method: str, path: str
) -> None:
    shop.fault(Kind.REFUSE, operation)
    shop.fault(Kind.REFUSE_AUTH, operation)
    shop.fault(Kind.STATUS, operation, status=429)
    shop.fault(Kind.STATUS, operation, status=503)

    answers = [shop.send(method, path) for _ in range(4)]
    assert [each.status for each in answers] == [400, 401, 429, 503]
    assert [each.body["code"] for each in answers][1:] == [14, 44, 1000]
    assert answers[0].body["code"] > 36000
    assert shop.effects == []


def test_faults_at_the_token_endpoint_speak_its_language(shop: Shop) -> None:
    shop.fault(Kind.REFUSE, "token")
    shop.fault(Kind.REFUSE_AUTH, "token")
    shop.fault(Kind.STATUS, "token", status=500)
    answers = [shop.sign_in() for _ in range(3)]
    assert [(each.status, each.body["error"]) for each in answers] == [
        (200, "invalid_code"),
        (200, "invalid_code"),
        (500, "server_error"),
    ]


def test_a_lost_reply_leaves_a_refund_that_the_list_shows(shop: Shop) -> None:
    order = shop.order(invoice=True, payments=PAID)
    note = shop.credit(order).body["creditnote"]
    shop.fault(Kind.LOST_REPLY, "create_refund")
    data = {"date": "2026-11-23", "amount": 25.5, "from_account_id": CLEARING_ACCOUNT_ID}
    path = f"creditnotes/{note['creditnote_id']}/refunds"

    assert isinstance(shop.world.receive(NAME, shop.call("POST", path, data)), Cut)
    assert [x["amount"] for x in shop.get(path)["creditnote_refunds"]] == [25.5]
    assert [x["amount_minor"] for x in shop.vendor.book.lines("record_refund")] == [2550]


def test_a_lost_request_does_nothing(shop: Shop) -> None:
    order = shop.order()
    shop.fault(Kind.LOST_REQUEST, "void_sales_order")
    call = shop.call("POST", f"salesorders/{order['id']}/status/void")
    assert isinstance(shop.world.receive(NAME, call), Cut)
    assert shop.effects == []


def test_a_return_may_wait_for_approval_and_a_note_for_opening(shop: Shop) -> None:
    order = shop.order(SHIPPED, invoice=True, payments=[{"amount_minor": 7650}])
    shop.fault(Kind.SLOW_PENDING, "create_sales_return")
    shop.fault(Kind.SLOW_PENDING, "create_credit_note")
    returned = shop.send_back(order).body["salesreturn"]
    assert returned["salesreturn_status"] == "draft"
    assert said(shop.take_in(returned)) == (400, 36205)
    shop.settle(salesreturn=returned["salesreturn_id"], status="approved")
    assert said(shop.take_in(returned)) == (201, 0)

    back = {
        "salesreturn_item_id": returned["line_items"][0]["line_item_id"],
        "is_item_shipped": True,
        "is_returned_to_stock": True,
    }
    note = shop.credit(order, shop.credit_line(order, **back)).body["creditnote"]
    assert note["status"] == "draft"
    assert shop.settle(creditnote=note["creditnote_id"], status="open")["status"] == "open"


def test_a_declined_return_cannot_be_received_and_gives_its_units_back(shop: Shop) -> None:
    order = shop.order(SHIPPED)
    returned = shop.send_back(order, 3).body["salesreturn"]
    shop.settle(salesreturn=returned["salesreturn_id"], status="declined")
    assert said(shop.take_in(returned)) == (400, 36205)
    assert said(shop.send_back(order, 3, salesreturn_number="RMA-2")) == (201, 0)


def test_late_failures_bring_an_order_back_and_take_a_refund_record_away(shop: Shop) -> None:
    order, paid = shop.order(TWO_LINES[:1]), shop.order(TWO_LINES[1:], invoice=True, payments=PAID)
    shop.fault(Kind.LATE_FAILURE, "void_sales_order")
    shop.fault(Kind.LATE_FAILURE, "create_refund")
    shop.void(order)
    note = shop.credit(paid, shop.credit_line(paid, rate=10)).body["creditnote"]
    shop.refund(note, 10)
    failed = shop.world.settle(NAME, {})

    assert failed[0]["status"] == "confirmed"
    assert (failed[1]["status"], failed[1]["balance"]) == ("open", 10)
    assert shop.world.settle(NAME, {}) == []
    assert shop.effects == [
        *("cancel_order", "restock", "credit_note", "record_refund"),
        *("reopen_order", "delete_refund"),
    ]


# ---------------------------------------------------------------- webhooks, seeding


def test_a_flag_set_by_a_person_is_posted_with_the_secret_and_stays_on_the_order(shop: Shop) -> None:
    order = shop.order(reference="#1042")
    shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/zoho", "long-secret"))
    shop.settle(salesorder=order["number"], flag="return-eligible")
    shop.world.webhooks.wait_idle()

    ((url, headers, body),) = shop.deliveries
    assert (url, headers["X-Webhook-Secret"]) == ("http://shop.example/zoho", "long-secret")
    assert "X-Zoho-Webhook-Signature" not in headers
    sent = json.loads(body)["salesorder"]
    fields = [(x["label"], x["value"]) for x in sent["custom_fields"]]
    assert (sent["reference_number"], fields) == ("#1042", [("Inventory flag", "return-eligible")])
    assert shop.get(f"salesorders/{order['id']}")["salesorder"]["custom_fields"] == sent["custom_fields"]
    assert shop.world.webhooks.log[0]["topic"] == "salesorder.return-eligible"


def test_our_own_void_comes_back_as_an_event(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/zoho", "s"))
    shop.void(shop.order(flag="unfulfilled"))
    shop.world.webhooks.wait_idle()

    ((_, _, body),) = shop.deliveries
    assert json.loads(body)["salesorder"]["status"] == "void"
    assert [x["topic"] for x in shop.world.webhooks.log] == ["salesorder.edited"]


def test_the_flag_may_stand_in_the_status_of_the_body_and_the_body_may_be_signed(shop: Shop) -> None:
    order = shop.order(
        settings={"flag_place": "status", "is_webhook_signed": True, "webhook_header": "X-Own"}
    )
    event = shop.vendor.event_for("salesorder.unfulfilled", order["id"])
    signed = shop.vendor.sign(event, "", "s")

    assert json.loads(signed.body)["salesorder"]["status"] == "unfulfilled"
    digest = hmac.new(b"s", signed.body, hashlib.sha256).hexdigest()
    assert (signed.headers["X-Own"], signed.headers["X-Zoho-Webhook-Signature"]) == ("s", digest)
    assert shop.get(f"salesorders/{order['id']}")["salesorder"]["status"] == "confirmed"
    with pytest.raises(NoSuchObjectError):
        shop.vendor.event_for("salesorder.unfulfilled", "SO-none")
    with pytest.raises(NoSuchObjectError):
        shop.vendor.event_for("invoice.paid", order["id"])


def test_explicit_ids_and_states_are_seeded_and_nothing_of_it_is_booked(shop: Shop) -> None:
    line = {"id": "71", "item_id": "72", "sku": "A", "quantity": 1, "unit_minor": 100, "stock": 3}
    made = shop.order(
        [line],
        id="70",
        email="ada@customers.example",
        customer={"id": "73", "name": "Ada"},
        payments=[{"id": "75", "amount_minor": 100}],
        invoice={"id": "74", "number": "INV-1", "line_ids": ["76"]},
    )

    assert (made["id"], made["customer_id"], made["lines"][0]["id"]) == ("70", "73", "71")
    invoice = made["invoices"][0]
    assert (invoice["id"], invoice["total_minor"], invoice["balance_minor"]) == ("74", 100, 0)
    assert invoice["lines"] == [{"id": "76", "sku": "A"}]
    assert shop.settle(item="A", stock=9) == shop.settle(item="72")
    assert shop.effects == []


@pytest.mark.parametrize(
    "described",
    [
        {"orders": [{"lines": [{"sku": "A", "quantity": 1}]}]},
        {"orders": [{"id": "SO-1", "lines": []}]},
        {"orders": [{"status": "cancelled", "lines": []}]},
        {"orders": [{"number": "1", "lines": []}, {"number": "1", "lines": []}]},
        {"settings": {"is_lenient": True}},
    ],
)
def test_what_cannot_be_seeded_is_a_value_error(shop: Shop, described: Record) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        shop.world.seed({NAME: described})


def test_what_cannot_be_settled_says_why(shop: Shop) -> None:
    order = shop.order(invoice=True)
    for wrong in (
        {"item": "none"},
        {"salesorder": "none", "flag": "x"},
        {"salesreturn": "1", "status": "approved"},
    ):
        with pytest.raises(NoSuchObjectError):
            shop.settle(**wrong)
    for wrong in (
        {"salesorder": order["id"], "status": "void"},
        {"salesorder": order["id"]},
        {"world": "all"},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            shop.settle(**wrong)
    paid = shop.settle(invoice=order["invoices"][0]["id"], paid_minor=6100)
    assert (paid["status"], paid["balance"]) == ("paid", 0)


# ---------------------------------------------------------------- the published description


def test_answers_fit_the_published_description(shop: Shop) -> None:
    folder = specs("zoho-inventory")
    settings = {"are_invoice_amounts_text": True}
    order = shop.order(
        SHIPPED, invoice=True, payments=[{"amount_minor": 7650}], settings=settings, flag="return-eligible"
    )
    returned = shop.send_back(order, 2)
    received = shop.take_in(returned.body["salesreturn"])
    back = {
        "salesreturn_item_id": returned.body["salesreturn"]["line_items"][0]["line_item_id"],
        "is_item_shipped": True,
        "is_returned_to_stock": True,
    }
    credited = shop.credit(order, shop.credit_line(order, **back))
    note = credited.body["creditnote"]["creditnote_id"]
    refunded = shop.refund(credited.body["creditnote"])
    adjusted = shop.send(
        "POST",
        "inventoryadjustments",
        {
            "date": "2026-11-23",
            "reason": "Found",
            "adjustment_type": "quantity",
            "line_items": [{"item_id": order["lines"][0]["item_id"], "quantity_adjusted": 1}],
        },
    )
    voided = shop.void(shop.order())
    refund = refunded.body["creditnote_refund"]["creditnote_refund_id"]
    notes = "/creditnotes/{creditnote_id}"
    answers = [
        ("salesreturns", "POST", "/salesreturns", returned),
        ("salesreturns", "POST", "/salesreturnreceives", received),
        ("credit-notes", "POST", "/creditnotes", credited),
        ("credit-notes", "POST", f"{notes}/refunds", refunded),
        ("inventoryadjustments", "POST", "/inventoryadjustments", adjusted),
        ("salesorders", "POST", "/salesorders/{salesorder_id}/status/void", voided),
    ]
    reads = [
        ("organizations", "/organizations", "organizations"),
        ("salesorders", "/salesorders", "salesorders"),
        ("salesorders", "/salesorders/{salesorder_id}", f"salesorders/{order['id']}"),
        ("invoices", "/invoices", "invoices"),
        ("invoices", "/invoices/{invoice_id}", f"invoices/{order['invoices'][0]['id']}"),
        ("customer-payments", "/customerpayments", "customerpayments"),
        (
            "customer-payments",
            "/customerpayments/{payment_id}",
            f"customerpayments/{order['payments'][0]['id']}",
        ),
        (
            "salesreturns",
            "/salesreturns/{salesreturn_id}",
            f"salesreturns/{returned.body['salesreturn']['salesreturn_id']}",
        ),
        ("credit-notes", "/creditnotes", "creditnotes"),
        ("credit-notes", notes, f"creditnotes/{note}"),
        ("credit-notes", f"{notes}/refunds", f"creditnotes/{note}/refunds"),
        ("credit-notes", f"{notes}/refunds/{{creditnote_refund_id}}", f"creditnotes/{note}/refunds/{refund}"),
        ("packages", "/packages", "packages"),
    ]
    answers += [(file, "GET", template, shop.send("GET", path)) for file, template, path in reads]
    for file, method, template, answer in answers:
        described = folder / f"{file}.openapi.json"
        check_response(described, method, template, answer.status, json.loads(answer.payload))
