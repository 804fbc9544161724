"""The practice Shopify executes documents as the real one does, and its book tells money from mere records."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from falcon import testing
from graphql import GraphQLEnumType, build_schema

from refundflow.sandbox.app import create_app
from refundflow.sandbox.base import Event, Subscription, World
from refundflow.sandbox.shopify import Shopify
from refundflow.sandbox.shopify_schema import schema_for
from tests.support.specs import check_document, load, specs

ORDER = "gid://shopify/Order/1001"
SALE = "gid://shopify/OrderTransaction/77"
CANCEL = """mutation Cancel($id: ID!, $restock: Boolean!, $method: OrderCancelRefundMethodInput, $note: String) {
  orderCancel(orderId: $id, reason: CUSTOMER, restock: $restock, refundMethod: $method, staffNote: $note) {
    job { id done } jobResult { status done errors { code } order { id } }
    orderCancelUserErrors { code field message }
  }
}"""
JOB = "query Job($id: ID!) { job(id: $id) { id done } }"
REFUND = """mutation Refund($input: RefundInput!, $key: String!) {
  refundCreate(input: $input) @idempotent(key: $key) {
    refund { id note transactions(first: 5) { nodes { id status kind amountSet { presentmentMoney { amount currencyCode } } } } }
    userErrors { field message }
  }
}"""
READ = """query Read($id: ID!) {
  order(id: $id) {
    cancelledAt cancelReason cancellation { staffNote } displayFinancialStatus displayFulfillmentStatus refundable
    totalRefundedSet { presentmentMoney { amount } shopMoney { amount currencyCode } }
    lineItems(first: 10) { nodes { id refundableQuantity unfulfilledQuantity } }
    refunds(first: 50) { id note totalRefundedSet { presentmentMoney { amount } } }
    suggestedRefund(suggestFullRefund: true) {
      amountSet { presentmentMoney { amount } }
      suggestedTransactions { gateway kind amountSet { presentmentMoney { amount } } parentTransaction { id } }
    }
  }
}"""
ADJUST = """mutation Adjust($input: InventoryAdjustQuantitiesInput!) {
  inventoryAdjustQuantities(input: $input) @idempotent(key: "adjust-1") {
    inventoryAdjustmentGroup { reason changes { delta quantityAfterChange } } userErrors { code field }
  }
}"""


class Shop:
    """A practice Shopify with order #1042: two prints at 21.25 EUR, paid in one sale, five on the shelf."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.world = World([Shopify], clock=lambda: self.now, send=self.receive)
        self.client = testing.TestClient(create_app(self.world))
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.on_delivery: Callable[[], None] = lambda: None
        # Cancellations are done by being read, never by the clock, so that no timer runs on behind a test.
        seeded = self.world.seed(
            {
                "shopify": {
                    "cancel_after_reads": 1,
                    "cancel_within_s": 3600,
                    "locations": [{"id": 5, "name": "Workshop"}],
                    "orders": [order_1042()],
                }
            }
        )
        self.line = seeded["shopify"]["orders"][0]["lines"][0]

    def receive(self, _url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((dict(headers), body))
        self.on_delivery()
        return 200

    def seed(self, **changes: Any) -> None:
        self.world.seed({"shopify": {"orders": [order_1042() | changes]}})

    def ask(self, query: str, version: str = "2026-10", **variables: Any) -> Any:
        return self.raw(query, version, **variables).json

    def raw(self, query: str, version: str = "2026-10", **variables: Any) -> testing.Result:
        return self.client.simulate_post(
            f"/shopify/admin/api/{version}/graphql.json",
            headers={"X-Shopify-Access-Token": "shpat_practice"},
            json={"query": query, "variables": variables},
        )

    def read(self) -> Any:
        return self.ask(READ, id=ORDER)["data"]["order"]

    def cancel(self, *, refund: bool = False, restock: bool = True, note: str | None = "rf_op 1") -> Any:
        method = {"originalPaymentMethodsRefund": refund}
        return self.ask(CANCEL, id=ORDER, restock=restock, method=method, note=note)["data"]["orderCancel"]

    def refund(self, amount: str = "10.00", key: str = "key-1", **changes: Any) -> Any:
        entry = {
            "orderId": ORDER,
            "parentId": SALE,
            "kind": "REFUND",
            "gateway": "shopify_payments",
            "amount": amount,
        }
        input = {"orderId": ORDER, "note": "rf_1", "notify": False, "transactions": [entry]} | changes
        return self.ask(REFUND, input=input, key=key)["data"]["refundCreate"]

    def control(self, path: str, body: Any) -> testing.Result:
        return self.client.simulate_post(f"/_sandbox/{path}", json=body)

    def book(self, effect: str | None = None) -> list[dict[str, Any]]:
        return self.world.vendor("shopify").book.lines(effect)


def order_1042() -> dict[str, Any]:
    return {
        "id": 1001,
        "name": "#1042",
        "currency": "EUR",
        "lines": [
            {
                "id": 11,
                "title": "Print",
                "sku": "P-1",
                "quantity": 2,
                "unit_minor": 2125,
                "location": 5,
                "item": 9,
                "available": 5,
            }
        ],
        "transactions": [{"id": 77, "kind": "SALE", "amount": 4250}],
    }


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def available(shop: Shop) -> int:
    query = """{ inventoryItem(id: "gid://shopify/InventoryItem/9") {
      inventoryLevel(locationId: "gid://shopify/Location/5") { quantities(names: ["available"]) { quantity } } } }"""
    level = shop.ask(query)["data"]["inventoryItem"]["inventoryLevel"]
    return int(level["quantities"][0]["quantity"])


def test_a_cancelled_order_is_cancelled_only_after_its_job_was_waited_for(shop: Shop) -> None:
    answer = shop.cancel()

    assert (answer["job"]["done"], answer["jobResult"]["status"], answer["orderCancelUserErrors"]) == (
        False,
        "STARTED",
        [],
    )
    assert [shop.ask(JOB, id=answer["job"]["id"])["data"]["job"]["done"] for _ in range(2)] == [False, True]
    order = shop.read()
    assert (order["cancelledAt"], order["cancelReason"], order["cancellation"]) == (
        "2026-11-23T12:00:00Z",
        "CUSTOMER",
        {"staffNote": "rf_op 1"},
    )


def test_a_cancel_without_refund_moves_no_money_and_restocks_once(shop: Shop) -> None:
    shop.cancel()
    shop.read(), shop.read()

    assert [(x["effect"], x["amount_minor"], x.get("quantity")) for x in shop.book()] == [
        ("cancel_order", None, None),
        ("restock", None, 2),
    ]
    assert available(shop) == 7
    assert shop.read()["displayFinancialStatus"] == "PAID"


def test_a_cancel_with_refund_pays_at_shopify_so_that_paying_twice_is_seen(shop: Shop) -> None:
    shop.cancel(refund=True, restock=False)
    shop.read(), shop.read()

    lines = shop.book()
    assert [(x["effect"], x["amount_minor"], x["currency"]) for x in lines] == [
        ("cancel_order", None, None),
        ("refund", 4250, "EUR"),
    ]
    assert lines[1]["reference"] == "rf_op 1"
    assert available(shop) == 5
    assert shop.read()["displayFinancialStatus"] == "REFUNDED"


def test_a_job_that_failed_is_done_and_leaves_the_order_as_it_was(shop: Shop) -> None:
    shop.control("faults", {"vendor": "shopify", "operation": "orderCancel", "kind": "late_failure"})
    job = shop.cancel()["job"]["id"]

    assert [shop.ask(JOB, id=job)["data"]["job"]["done"] for _ in range(2)] == [False, True]
    assert (shop.read()["cancelledAt"], shop.book()) == (None, [])


def test_a_slow_cancellation_waits_until_it_is_settled(shop: Shop) -> None:
    shop.control("faults", {"vendor": "shopify", "operation": "orderCancel", "kind": "slow_pending"})
    shop.cancel()
    assert [shop.read()["cancelledAt"] for _ in range(4)] == [None] * 4
    settled = shop.control("settle", {"vendor": "shopify", "order": 1001, "cancel": "succeeded"}).json
    assert [each["status"] for each in settled] == ["SUCCEEDED"]
    assert shop.read()["cancelledAt"] == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize(
    ("_case", "changes", "arguments"),
    [
        ("a return in progress", {"return_status": "IN_PROGRESS"}, {}),
        ("a fulfilled line", {"lines": [{"title": "x", "quantity": 1, "unit_minor": 1, "fulfilled": 1}]}, {}),
        ("a pending authorisation", {"transactions": [{"kind": "AUTHORIZATION", "status": "PENDING"}]}, {}),
        ("a staff note too long", {}, {"note": "x" * 256}),
    ],
)
def test_an_order_that_cannot_be_cancelled_is_refused_and_nothing_happens(
    shop: Shop, _case: str, changes: dict[str, Any], arguments: dict[str, Any]
) -> None:
    shop.seed(**changes)
    answer = shop.cancel(**arguments)

    assert [each["code"] for each in answer["orderCancelUserErrors"]] == ["INVALID"]
    assert (answer["job"], shop.read()["cancelledAt"], shop.book()) == (None, None, [])


def test_a_cancel_that_does_not_say_how_to_refund_is_refused(shop: Shop) -> None:
    answer = shop.ask(CANCEL, id=ORDER, restock=True)["data"]["orderCancel"]
    assert [(x["code"], x["field"]) for x in answer["orderCancelUserErrors"]] == [
        ("INVALID", ["refundMethod"])
    ]


def test_a_second_cancel_is_refused_while_and_after_the_first(shop: Shop) -> None:
    shop.cancel()
    during = shop.cancel()
    shop.read(), shop.read()
    after = shop.cancel()

    assert [len(each["orderCancelUserErrors"]) for each in (during, after)] == [1, 1]
    assert len(shop.book("cancel_order")) == 1


def test_an_authorised_payment_is_voided_whatever_the_refund_method_says(shop: Shop) -> None:
    shop.seed(transactions=[{"kind": "AUTHORIZATION", "amount": 4250}])
    assert shop.read()["displayFinancialStatus"] == "AUTHORIZED"
    shop.cancel()
    shop.read(), shop.read()
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [
        ("cancel_order", None),
        ("void", 4250),
        ("restock", None),
    ]
    assert shop.read()["displayFinancialStatus"] == "VOIDED"


def test_a_paid_order_at_a_deactivated_location_fails_to_cancel_with_restock(shop: Shop) -> None:
    shop.world.seed({"shopify": {"locations": [{"id": 5, "name": "Workshop", "is_active": False}]}})
    shop.seed()
    shop.cancel()
    shop.read(), shop.read()
    assert (shop.read()["cancelledAt"], shop.book()) == (None, [])


def test_a_refund_with_a_transaction_moves_money_and_is_found_by_its_note(shop: Shop) -> None:
    answer = shop.refund()

    paid = answer["refund"]["transactions"]["nodes"][0]
    assert answer["userErrors"] == []
    assert (paid["status"], paid["kind"], paid["amountSet"]["presentmentMoney"]) == (
        "SUCCESS",
        "REFUND",
        {"amount": "10.0", "currencyCode": "EUR"},
    )
    assert [
        (x["effect"], x["amount_minor"], x["currency"], x["reference"], x["idempotency_key"])
        for x in shop.book()
    ] == [("refund", 1000, "EUR", "rf_1", "key-1")]
    order = shop.read()
    assert [each["note"] for each in order["refunds"]] == ["rf_1"]
    assert (order["displayFinancialStatus"], order["totalRefundedSet"]["presentmentMoney"]["amount"]) == (
        "PARTIALLY_REFUNDED",
        "10.0",
    )
    suggested = order["suggestedRefund"]["suggestedTransactions"]
    assert [
        (x["gateway"], x["amountSet"]["presentmentMoney"]["amount"], x["parentTransaction"]["id"])
        for x in suggested
    ] == [("shopify_payments", "32.5", SALE)]


def test_a_refund_without_transactions_only_books_and_restocks(shop: Shop) -> None:
    line = {
        "lineItemId": "gid://shopify/LineItem/11",
        "quantity": 1,
        "restockType": "CANCEL",
        "locationId": "gid://shopify/Location/5",
    }
    answer = shop.refund(transactions=[], refundLineItems=[line])

    assert answer["userErrors"] == []
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [
        ("record_refund", None),
        ("restock", None),
    ]
    assert available(shop) == 6
    assert shop.read()["lineItems"]["nodes"][0]["refundableQuantity"] == 1


def test_the_same_key_gives_the_same_refund_and_pays_once(shop: Shop) -> None:
    first, second = shop.refund(), shop.refund()
    assert first == second
    assert [line["amount_minor"] for line in shop.book("refund")] == [1000]


def test_the_same_key_with_other_variables_is_refused(shop: Shop) -> None:
    shop.refund()
    answer = shop.refund(amount="11.00")
    assert [each["message"] for each in answer["userErrors"]] == ["IDEMPOTENCY_KEY_PARAMETER_MISMATCH"]
    assert [line["amount_minor"] for line in shop.book("refund")] == [1000]


def test_a_fresh_key_pays_again_as_far_as_money_is_left(shop: Shop) -> None:
    answers = [shop.refund("21.25", key=f"key-{n}") for n in range(3)]
    assert [len(each["userErrors"]) for each in answers] == [0, 0, 1]
    assert [line["amount_minor"] for line in shop.book("refund")] == [2125, 2125]


@pytest.mark.parametrize(
    ("_case", "entry"),
    [
        ("more than is left", {"amount": "42.51"}),
        ("nothing", {"amount": "0.00"}),
        ("another gateway", {"gateway": "paypal"}),
        ("no such parent", {"parentId": "gid://shopify/OrderTransaction/78"}),
        ("not a refund", {"kind": "SALE"}),
        ("another order", {"orderId": "gid://shopify/Order/1002"}),
    ],
)
def test_a_transaction_that_does_not_fit_is_refused_and_pays_nothing(
    shop: Shop, _case: str, entry: dict[str, Any]
) -> None:
    good = {
        "orderId": ORDER,
        "parentId": SALE,
        "kind": "REFUND",
        "gateway": "shopify_payments",
        "amount": "1.00",
    }
    answer = shop.refund(transactions=[good | entry])
    assert (answer["refund"], len(answer["userErrors"]), shop.book()) == (None, 1, [])


def test_a_refund_of_more_units_than_were_bought_is_refused(shop: Shop) -> None:
    line = {"lineItemId": "gid://shopify/LineItem/11", "quantity": 3, "restockType": "NO_RESTOCK"}
    assert len(shop.refund(refundLineItems=[line])["userErrors"]) == 1
    assert shop.book() == []


def test_the_directive_is_required_from_2026_04_and_its_key_may_not_be_blank(shop: Shop) -> None:
    bare = REFUND.replace("@idempotent(key: $key)", "").replace(", $key: String!", "")
    entry = {
        "orderId": ORDER,
        "parentId": SALE,
        "kind": "REFUND",
        "gateway": "shopify_payments",
        "amount": "1.00",
    }
    input = {"orderId": ORDER, "transactions": [entry]}

    for query, variables in ((bare, {}), (REFUND, {"key": " "})):
        answer = shop.ask(query, input=input, **variables)
        assert (answer["data"]["refundCreate"], len(answer["errors"])) == (None, 1)
    assert shop.book() == []
    assert shop.ask(bare, "2026-01", input=input)["data"]["refundCreate"]["userErrors"] == []
    assert len(shop.book("refund")) == 1


def test_a_pending_transaction_keeps_its_part_and_gives_it_back_when_it_fails(shop: Shop) -> None:
    shop.control("faults", {"vendor": "shopify", "operation": "refundCreate", "kind": "slow_pending"})
    paid = shop.refund("40.00")["refund"]["transactions"]["nodes"][0]
    assert paid["status"] == "PENDING"
    assert len(shop.refund("40.00", key="key-2")["userErrors"]) == 1
    shop.control("settle", {"vendor": "shopify", "transaction": paid["id"], "status": "FAILURE"})

    assert shop.refund("40.00", key="key-3")["userErrors"] == []
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [
        ("refund", 4000),
        ("refund_failed", 4000),
        ("refund", 4000),
    ]


def test_a_refund_marked_to_fail_late_turns_to_failure_when_told(shop: Shop) -> None:
    shop.control("faults", {"vendor": "shopify", "operation": "refundCreate", "kind": "late_failure"})
    paid = shop.refund()["refund"]["transactions"]["nodes"][0]
    settled = shop.control("settle", {"vendor": "shopify"}).json

    assert (paid["status"], settled) == ("SUCCESS", [{"transaction": paid["id"], "status": "FAILURE"}])
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [
        ("refund", 1000),
        ("refund_failed", 1000),
    ]
    assert shop.read()["displayFinancialStatus"] == "PAID"


def test_a_key_can_be_left_saying_that_its_first_attempt_failed(shop: Shop) -> None:
    fault = {"vendor": "shopify", "kind": "status", "status": 500, "code": "previous_attempt_failed"}
    shop.control("faults", fault)
    entry = {
        "orderId": ORDER,
        "parentId": SALE,
        "kind": "REFUND",
        "gateway": "shopify_payments",
        "amount": "1.00",
    }
    broken = shop.raw(REFUND, input={"orderId": ORDER, "transactions": [entry]}, key="key-1")

    assert broken.status_code == 500
    assert [x["message"] for x in shop.refund()["userErrors"]] == ["IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"]
    assert shop.book() == []
    assert shop.refund(key="key-2")["userErrors"] == []


def test_a_list_without_first_or_last_is_refused_as_the_vendor_refuses_it(shop: Shop) -> None:
    answer = shop.ask("query($id: ID!) { order(id: $id) { lineItems { nodes { id } } } }", id=ORDER)
    assert (answer["data"], [x["path"] for x in answer["errors"]]) == (
        {"order": None},
        [["order", "lineItems"]],
    )


def test_an_order_nobody_looks_at_is_cancelled_by_itself(shop: Shop) -> None:
    shop.world.seed({"shopify": {"cancel_within_s": 0}})
    done = threading.Event()
    shop.world.webhooks.subscribe(
        "shopify", Subscription("http://shop.example", "s", topics=("orders/cancelled",))
    )
    shop.on_delivery = done.set
    shop.cancel()
    assert done.wait(10)
    assert len(shop.book("cancel_order")) == 1


def test_a_refund_of_a_multi_currency_order_is_stated_in_the_presentment_currency(shop: Shop) -> None:
    shop.seed(presentment_currency="USD", presentment_rate="1.25")
    silent = shop.refund()
    stated = shop.refund(key="key-2", currency="USD")

    assert (len(silent["userErrors"]), stated["userErrors"]) == (1, [])
    assert [(x["amount_minor"], x["currency"]) for x in shop.book("refund")] == [(1000, "USD")]
    assert shop.read()["totalRefundedSet"] == {
        "presentmentMoney": {"amount": "10.0"},
        "shopMoney": {"amount": "8.0", "currencyCode": "EUR"},
    }


def test_stock_is_adjusted_once_under_its_key_and_guarded_by_compare_and_swap(shop: Shop) -> None:
    change = {
        "inventoryItemId": "gid://shopify/InventoryItem/9",
        "locationId": "gid://shopify/Location/5",
        "delta": 2,
    }
    input = {
        "name": "available",
        "reason": "restock",
        "referenceDocumentUri": "refundflow://op/1",
        "changes": [change],
    }
    stale = {**input, "changes": [{**change, "changeFromQuantity": 4}]}
    first = shop.ask(ADJUST, input=input)["data"]["inventoryAdjustQuantities"]
    second = shop.ask(ADJUST, input=input)["data"]["inventoryAdjustQuantities"]
    third = shop.ask(ADJUST.replace("adjust-1", "adjust-2"), input=stale)["data"]["inventoryAdjustQuantities"]

    assert first == second
    assert first["inventoryAdjustmentGroup"]["changes"] == [{"delta": 2, "quantityAfterChange": 7}]
    assert [each["code"] for each in third["userErrors"]] == ["CHANGE_FROM_QUANTITY_STALE"]
    assert [(x["quantity"], x["reference"]) for x in shop.book()] == [(2, "refundflow://op/1")]


def test_unknown_fields_bad_ids_and_unreadable_documents_are_errors_in_a_200(shop: Shop) -> None:
    answers = [
        shop.raw(query) for query in ("{ order(id: 1) { nope } }", '{ order(id: "1") { id } }', "{ order(")
    ]
    assert [(each.status_code, len(each.json["errors"])) for each in answers] == [(200, 1)] * 3
    assert shop.ask('{ order(id: "gid://shopify/Order/2") { id } }')["data"] == {"order": None}


def test_tokens_content_types_and_versions_are_checked_at_the_door(shop: Shop) -> None:
    path, query = "/shopify/admin/api/2026-10/graphql.json", {"query": "{ publicApiVersions { handle } }"}
    token = {"X-Shopify-Access-Token": "shpat_practice"}
    form = token | {"Content-Type": "application/x-www-form-urlencoded"}
    assert shop.client.simulate_post(path, json=query).status_code == 401
    assert (
        shop.client.simulate_post(path, headers={"X-Shopify-Access-Token": "wrong"}, json=query).status_code
        == 401
    )
    assert shop.client.simulate_post(path, headers=form, body="query=x").status_code == 400
    assert shop.client.simulate_get(path, headers=token).status_code == 404
    versions = [(asked, shop.raw(query["query"], asked)) for asked in ("2026-10", "2023-01", "2031-01", "v1")]
    assert [(asked, x.status_code, x.headers.get("x-shopify-api-version")) for asked, x in versions] == [
        ("2026-10", 200, "2026-10"),
        ("2023-01", 200, "2026-01"),
        ("2031-01", 404, None),
        ("v1", 404, None),
    ]


def test_a_token_from_client_credentials_works_for_a_day(shop: Shop) -> None:
    asked = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}
    given = shop.client.simulate_post("/shopify/admin/oauth/access_token", json=asked).json
    headers = {"X-Shopify-Access-Token": given["access_token"]}

    def status() -> int:
        return shop.client.simulate_post(
            "/shopify/admin/api/2026-10/graphql.json",
            headers=headers,
            json={"query": "{ publicApiVersions { handle } }"},
        ).status_code

    assert (given["expires_in"], status()) == (86_399, 200)
    shop.now += timedelta(hours=24)
    assert status() == 401
    refused = shop.client.simulate_post(
        "/shopify/admin/oauth/access_token", json=asked | {"grant_type": "password"}
    )
    assert refused.status_code == 400


def test_orders_are_found_by_name_state_and_time(shop: Shop) -> None:
    def found(query: str) -> list[str]:
        text = "query($q: String) { orders(first: 5, query: $q) { nodes { name } pageInfo { hasNextPage } } }"
        return [each["name"] for each in shop.ask(text, q=query)["data"]["orders"]["nodes"]]

    assert found("name:1042") == found("name:'#1042'") == found("status:open") == ["#1042"]
    assert found("status:cancelled") == found("name:1043") == found("updated_at:>2026-11-24") == []
    shop.cancel()
    shop.read(), shop.read()
    assert found("updated_at:>2026-11-22T00:00:00Z AND status:cancelled") == ["#1042"]


def test_lists_page_with_a_cursor(shop: Shop) -> None:
    shop.seed(id=1002, name="#1043", created_at="2026-11-23T13:00:00Z")
    text = "query($a: String) { orders(first: 1, after: $a) { nodes { name } pageInfo { hasNextPage endCursor } } }"
    first = shop.ask(text)["data"]["orders"]
    second = shop.ask(text, a=first["pageInfo"]["endCursor"])["data"]["orders"]

    assert ([x["name"] for x in first["nodes"]], first["pageInfo"]["hasNextPage"]) == (["#1042"], True)
    assert ([x["name"] for x in second["nodes"]], second["pageInfo"]["hasNextPage"]) == (["#1043"], False)


def test_costs_are_told_and_an_empty_bucket_throttles(shop: Shop) -> None:
    shop.world.seed({"shopify": {"bucket": 3, "restore_per_s": 1}})
    answer = shop.ask("{ publicApiVersions { handle } }")
    assert answer["extensions"]["cost"] == {
        "requestedQueryCost": 1,
        "actualQueryCost": 1,
        "throttleStatus": {"maximumAvailable": 3, "currentlyAvailable": 2, "restoreRate": 1},
    }
    throttled = shop.ask(READ, id=ORDER)
    assert ([x["extensions"]["code"] for x in throttled["errors"]], "data" in throttled) == (
        ["THROTTLED"],
        False,
    )


def test_throttling_and_refusals_come_on_demand(shop: Shop) -> None:
    shop.control(
        "faults",
        [
            {"vendor": "shopify", "operation": "orderCancel", "kind": "status", "status": 200},
            {
                "vendor": "shopify",
                "operation": "orderCancel",
                "kind": "refuse",
                "code": "NO_REFUND_PERMISSION",
            },
            {"vendor": "shopify", "operation": "order", "kind": "refuse"},
        ],
    )
    throttled = shop.ask(CANCEL, id=ORDER, restock=True, method={"originalPaymentMethodsRefund": False})

    assert [each["extensions"]["code"] for each in throttled["errors"]] == ["THROTTLED"]
    assert [each["code"] for each in shop.cancel()["orderCancelUserErrors"]] == ["NO_REFUND_PERMISSION"]
    assert [x["extensions"]["code"] for x in shop.ask(READ, id=ORDER)["errors"]] == ["ACCESS_DENIED"]
    assert shop.book() == []


def test_webhooks_are_signed_shaped_as_described_and_keep_their_id(shop: Shop) -> None:
    subscription = {"url": "http://shop.example/hooks", "secret": "shpss_1", "copies": 2}
    shop.client.simulate_put("/_sandbox/subscriptions", json={"shopify": subscription})
    shop.cancel(refund=True)
    shop.read(), shop.read()
    shop.world.webhooks.wait_idle()

    topics = [headers["X-Shopify-Topic"] for headers, _ in shop.deliveries]
    ids = [headers["X-Shopify-Webhook-Id"] for headers, _ in shop.deliveries]
    assert topics == ["refunds/create", "refunds/create", "orders/cancelled", "orders/cancelled"]
    assert (ids[0] == ids[1], ids[2] == ids[3], ids[1] == ids[2]) == (True, True, False)
    for headers, body in shop.deliveries:
        digest = hmac.new(b"shpss_1", body, hashlib.sha256).digest()
        assert headers["X-Shopify-Hmac-Sha256"] == base64.b64encode(digest).decode()
        described = f"webhook.{headers['X-Shopify-Topic'].replace('/', '-')}.schema.json"
        check_document(specs("shopify") / described, json.loads(body))
    assert json.loads(shop.deliveries[0][1])["note"] == "rf_op 1"
    assert json.loads(shop.deliveries[2][1])["cancelled_at"] == "2026-11-23T12:00:00Z"


def test_a_person_in_the_admin_can_cancel_too(shop: Shop) -> None:
    shop.control("settle", {"vendor": "shopify", "order": 1001, "staff_cancel": "FRAUD", "refund": True})
    assert [(x["effect"], x["amount_minor"]) for x in shop.book()] == [
        ("cancel_order", None),
        ("refund", 4250),
        ("restock", None),
    ]
    assert (
        shop.control("settle", {"vendor": "shopify", "order": 1001, "staff_cancel": "FRAUD"}).status_code
        == 400
    )


def test_the_signature_is_that_of_the_vectors() -> None:
    vector = load(specs("shopify") / "webhook_signature_vectors.json")["vectors"][0]
    event = Event("e", "orders/cancelled", vector["body"].encode())
    signed = World([Shopify]).vendor("shopify").sign(event, "", vector["client_secret"])
    assert signed.headers["X-Shopify-Hmac-Sha256"] == vector["signature"]


def test_every_type_and_field_is_one_of_the_vendors() -> None:
    vendors = build_schema((specs("shopify") / "admin-2026-10.slice.graphql").read_text(encoding="utf-8"))
    strange = []
    for name, ours in schema_for("2026-10").type_map.items():
        theirs = vendors.type_map.get(name)
        if theirs is None:
            strange.append(name)
        # The slice holds only some of the currencies.
        elif (
            isinstance(ours, GraphQLEnumType)
            and isinstance(theirs, GraphQLEnumType)
            and name != "CurrencyCode"
        ):
            strange += [f"{name}.{value}" for value in set(ours.values) - set(theirs.values)]
        for field_name, field in getattr(ours, "fields", {}).items():
            described = getattr(theirs, "fields", {}).get(field_name)
            if described is None or str(described.type) != str(field.type):
                strange.append(f"{name}.{field_name}")
            for argument_name, argument in getattr(field, "args", {}).items():
                known = getattr(described, "args", {}).get(argument_name)
                if known is None or str(known.type) != str(argument.type):
                    strange.append(f"{name}.{field_name}({argument_name})")
    assert strange == []
