"""The practice Magento is as strict as the real one, lays the same traps, and its book holds exactly what happened."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest

from refundflow.sandbox import magento
from refundflow.sandbox.base import Answer, Call, Cut, Fault, NoSuchObjectError, Subscription, World
from refundflow.sandbox.magento import Magento, base_string
from tests.support.specs import check_document, check_response, specs

JSON = {"content-type": "application/json"}
HOST = "shop.example"
PRACTICE = {"comment": "refundflow op_1", "is_visible_on_front": 0}
ROUTES = {"orders": "/V1/orders", "invoices": "/V1/invoices", "memos": "/V1/creditmemos"}


class Shop:
    """A practice shop with a clock that tests can move: order 7, two mugs and a tea, paid 42.50 EUR, nothing shipped."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.world = World([Magento], clock=lambda: self.now, send=self.receive)
        self.nonces = itertools.count(1)
        self.order = self.seed(
            id=7,
            number="000000123",
            email="jane@example.com",
            lines=[
                {"id": 31, "sku": "MUG", "title": "Mug", "quantity": 2, "unit_minor": 1500, "stock": 5},
                {"id": 32, "sku": "TEA", "title": "Tea", "quantity": 1, "unit_minor": 750, "stock": 3},
            ],
            shipping_minor=500,
            payments=[{"gateway": "braintree", "amount_minor": 4250, "transaction_id": "bt_1"}],
        )

    @property
    def vendor(self) -> Magento:
        found = self.world.vendor("magento")
        assert isinstance(found, Magento)
        return found

    def receive(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((dict(headers), body))
        return 200

    def seed(self, **order: Any) -> dict[str, Any]:
        order = {"lines": [{"sku": "MUG", "quantity": 1, "unit_minor": 1000}], **order}
        made = self.world.seed({"magento": {"orders": [order]}})["magento"]["orders"]
        return dict(made[0])

    def set(self, **settings: Any) -> None:
        self.world.seed({"magento": {"settings": settings}})

    def fault(self, **fault: Any) -> None:
        self.world.faults.add(Fault.read({"vendor": "magento", **fault}))

    def signature(self, method: str, path: str, query: str = "", **other: Any) -> str:
        """An OAuth header made without the double's help; `other` replaces or (None) leaves out parameters."""
        parameters: dict[str, Any] = {
            "oauth_consumer_key": "practice-magento-consumer-key",
            "oauth_token": "practice-magento-access-token",
            "oauth_nonce": f"n{next(self.nonces)}",
            "oauth_timestamp": str(int(self.now.timestamp())),
            "oauth_signature_method": "HMAC-SHA256",
        }
        secret = other.pop("secret", "practice-magento-consumer-secret&practice-magento-access-token-secret")
        url = other.pop("url", f"https://{HOST}/magento{path}")
        parameters = {n: v for n, v in {**parameters, **other}.items() if v is not None}
        pairs = [*parameters.items(), *parse_qsl(query, keep_blank_values=True)]
        ready = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs)
        text = "&".join(quote(part, safe="~") for part in (method, url, "&".join("=".join(p) for p in ready)))
        made = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()
        parameters.setdefault("oauth_signature", made)
        return "OAuth " + ",".join(f'{n}="{quote(v, safe="~")}"' for n, v in parameters.items())

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: str = "",
        headers: dict[str, str] | None = None,
        **oauth: Any,
    ) -> tuple[int, Any]:
        """One call; returns status and JSON, or (0, None) where no answer came."""
        path = path if path.startswith(("/rest", "/ims", "/prod")) else f"/rest/default{path}"
        given = {"host": HOST, "authorization": self.signature(method, path, query, **oauth), **JSON}
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self.world.receive(
            "magento", Call(method, path, query, {**given, **(headers or {})}, payload)
        )
        if isinstance(answer, Cut):
            return 0, None
        assert isinstance(answer, Answer)
        return answer.status, json.loads(answer.payload)

    def get(self, path: str, query: str = "") -> Any:
        status, body = self.send("GET", path, query=query)
        assert status == 200, body
        return body

    def find(self, kind: str, *filters: tuple[str, str, str], **more: Any) -> tuple[int, Any]:
        return self.send("GET", ROUTES[kind], query=criteria(*filters, **more))

    def refund(self, invoice: int | None = None, **body: Any) -> tuple[int, Any]:
        """Online at the order's invoice; `isOnline` may be set otherwise."""
        id = invoice or self.order["invoices"][0]
        return self.send("POST", f"/V1/invoice/{id}/refund", {"isOnline": True, **body})

    def book(self, *effects: str) -> list[tuple[Any, ...]]:
        lines = self.vendor.book.lines()
        return [
            (x["effect"], x["amount_minor"] if x["amount_minor"] is not None else x.get("quantity"))
            for x in lines
            if not effects or x["effect"] in effects
        ]

    def salable(self, sku: str) -> int:
        return int(self.get(f"/V1/inventory/get-product-salable-quantity/{sku}/1"))

    def state(self, id: int = 7) -> str:
        return str(self.get(f"/V1/orders/{id}")["state"])


def criteria(*filters: tuple[str, str, str], **more: Any) -> str:
    """One filter group per filter; `more` is put behind `searchCriteria` as it is, `__` for the brackets."""
    pairs: dict[str, Any] = {}
    for index, (name, condition, value) in enumerate(filters):
        base = f"searchCriteria[filterGroups][{index}][filters][0]"
        pairs |= {f"{base}[field]": name, f"{base}[value]": value, f"{base}[conditionType]": condition}
    for name, value in more.items():
        pairs["searchCriteria" + "".join(f"[{part}]" for part in name.split("__"))] = value
    return urlencode(pairs or {"searchCriteria": ""}, quote_via=quote)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


# ---------------------------------------------------------------- who calls


def test_the_base_string_is_the_one_of_the_standard() -> None:
    """RFC 5849, section 3.4.1.1."""
    parameters = [
        *(("b5", "=%3D"), ("a3", "a"), ("c@", ""), ("a2", "r b"), ("c2", ""), ("a3", "2 q")),
        ("oauth_consumer_key", "9djdj82h48djs9d2"),
        ("oauth_token", "kkk9d7dh3k39sjv7"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "137131201"),
        ("oauth_nonce", "7d8f3e4a"),
    ]
    assert base_string("post", "http://example.com/request", parameters) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D"
        "%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1"
        "%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    )


@pytest.mark.parametrize(
    ("_case", "oauth", "wanted"),
    [
        ("signed well", {}, 200),
        ("over plain http", {"url": f"http://{HOST}/magento/rest/default/V1/orders/7"}, 200),
        ("another secret", {"secret": "a&b"}, 401),
        ("another url", {"url": "https://shop.example/magento/rest/default/V1/orders/8"}, 401),
        ("without the prefix", {"url": "https://shop.example/rest/default/V1/orders/7"}, 401),
        ("another consumer", {"oauth_consumer_key": "x"}, 401),
        ("another token", {"oauth_token": "x"}, 401),
        ("no token", {"oauth_token": None}, 400),
        ("no nonce", {"oauth_nonce": None}, 400),
        ("no timestamp", {"oauth_timestamp": None}, 400),
        ("the older method", {"oauth_signature_method": "HMAC-SHA1"}, 400),
        ("another version", {"oauth_version": "2.0"}, 400),
        ("the right version, signed too", {"oauth_version": "1.0"}, 200),
        ("a timestamp that is none", {"oauth_timestamp": "soon"}, 400),
        ("eleven minutes ahead", {"oauth_timestamp": "1795436460"}, 400),
        ("eleven minutes behind", {"oauth_timestamp": "1795434540"}, 400),
        ("nine minutes behind", {"oauth_timestamp": "1795434660"}, 200),
    ],
)
def test_every_call_is_signed(shop: Shop, _case: str, oauth: dict[str, Any], wanted: int) -> None:
    shop.now = datetime.fromtimestamp(1_795_435_200, UTC)
    status, body = shop.send("GET", "/V1/orders/7", **oauth)
    assert status == wanted, body
    assert status == 200 or body["message"]


def test_the_query_is_signed_and_the_body_is_not(shop: Shop) -> None:
    path, query = "/rest/default/V1/orders", criteria(("entity_id", "eq", "7"))
    signed = shop.signature("GET", path, query)
    refused = shop.send("GET", path, query=query.replace("=7", "=8"), headers={"authorization": signed})
    taken = shop.send("GET", path, query=query)

    assert (refused[0], refused[1]["message"]) == (401, "The signature is invalid. Verify and try again.")
    assert (taken[0], taken[1]["total_count"]) == (200, 1)
    assert shop.send("POST", "/V1/orders/7/comments", note("signed"))[0] == 200


def test_a_nonce_counts_once_even_where_the_signature_was_wrong(shop: Shop) -> None:
    assert shop.send("GET", "/V1/orders/7", oauth_nonce="once")[0] == 200
    status, body = shop.send("GET", "/V1/orders/7", oauth_nonce="once")
    assert (status, body["parameters"]) == (401, [1])
    assert "nonce is already being used" in body["message"]

    assert shop.send("GET", "/V1/orders/7", oauth_nonce="burned", secret="x&y")[0] == 401
    assert shop.send("GET", "/V1/orders/7", oauth_nonce="burned")[0] == 401


def test_a_replayed_call_pays_nothing(shop: Shop) -> None:
    path = "/rest/default/V1/invoice/1/refund"
    signed = {"authorization": shop.signature("POST", path)}
    answers = [
        shop.send("POST", path, refund_of(31, 1), headers=signed)[0],
        shop.send("POST", path, refund_of(31, 1), headers=signed)[0],
    ]
    assert answers == [200, 401]
    assert shop.book() == [("refund", 1500)]


def test_the_public_address_is_what_a_shop_behind_a_proxy_has_signed(shop: Shop) -> None:
    shop.set(base_url="https://www.shop.example")
    assert shop.send("GET", "/V1/orders/7")[0] == 401
    url = "https://www.shop.example/rest/default/V1/orders/7"
    assert shop.send("GET", "/V1/orders/7", url=url)[0] == 200


def test_the_access_token_alone_is_a_bearer_only_where_the_merchant_allows_it(shop: Shop) -> None:
    bearer = {"authorization": f"Bearer {magento.ACCESS_TOKEN}"}
    status, body = shop.send("GET", "/V1/orders/7", headers=bearer)
    assert (status, body["message"]) == (401, "The consumer isn't authorized to access %resources.")
    assert body["parameters"] == {"resources": "Magento_Sales::actions_view"}

    shop.set(bearer=True)
    assert shop.send("GET", "/V1/orders/7", headers=bearer)[0] == 200
    assert shop.send("GET", "/V1/orders/7", headers={"authorization": "Bearer x"})[0] == 401
    assert shop.send("GET", "/V1/orders/7", headers={"authorization": ""})[0] == 401


def test_an_admin_token_needs_two_factors_off_and_lives_four_hours(shop: Shop) -> None:
    path, right = (
        "/V1/integration/admin/token",
        {"username": "practice-admin", "password": "practice-admin-1"},
    )
    assert shop.send("POST", path, right)[0] == 401
    shop.set(two_factor=False)
    assert shop.send("POST", path, {**right, "password": "x"})[0] == 401
    status, body = shop.send("POST", path, {"username": "practice-admin"})
    assert (status, body["parameters"]) == (400, {"fieldName": "password"})

    status, token = shop.send("POST", path, right)
    bearer = {"authorization": f"Bearer {token}"}
    assert (status, type(token)) == (200, str)
    shop.now += timedelta(hours=3, minutes=59)
    assert shop.send("GET", "/V1/orders/7", headers=bearer)[0] == 200
    shop.now += timedelta(minutes=1)
    assert shop.send("GET", "/V1/orders/7", headers=bearer)[0] == 401


def test_a_missing_permission_is_a_401_that_names_it(shop: Shop) -> None:
    shop.set(resources=["Magento_Sales::actions_view"])
    assert shop.send("GET", "/V1/orders/7")[0] == 200
    status, body = shop.send("POST", "/V1/orders/7/cancel")
    assert (status, body["parameters"]) == (401, {"resources": "Magento_Sales::cancel"})
    assert shop.book() == []


def test_the_cloud_service_has_no_rest_in_its_paths_and_wants_ims_headers(shop: Shop) -> None:
    shop.set(edition="accs")

    def ask(secret: str = magento.IMS_CLIENT_SECRET, scope: str = "openid,commerce.accs") -> tuple[int, Any]:
        form = {"grant_type": "client_credentials", "client_id": "practice-ims-client"}
        body = urlencode({**form, "client_secret": secret, "scope": scope}).encode()
        return shop.send("POST", "/ims/token/v3", body)

    def read(path: str = "/V1/orders/7", **other: str) -> int:
        headers = {"authorization": f"Bearer {token['access_token']}", "x-api-key": "practice-ims-client"}
        headers |= {"x-gw-ims-org-id": "PRACTICE@AdobeOrg", **other}
        answer = shop.world.receive("magento", Call("GET", path, "", headers))
        assert isinstance(answer, Answer)
        return answer.status

    assert [ask(secret="x")[0], ask(scope="openid")[0]] == [401, 400]
    _, token = ask()
    assert (token["token_type"], token["expires_in"]) == ("bearer", 86_399)
    assert [read(), read("/rest/V1/orders/7")] == [200, 404]
    assert [read(**{"x-api-key": ""}), read(**{"x-gw-ims-org-id": ""}), read(authorization="")] == [
        403,
        403,
        401,
    ]
    shop.now += timedelta(seconds=86_399)
    assert read() == 401


# ---------------------------------------------------------------- paths, shapes, bodies


@pytest.mark.parametrize(
    ("_case", "method", "path", "body", "wanted"),
    [
        ("no store", "GET", "/rest/V1/orders/7", None, 200),
        ("all stores", "GET", "/rest/all/V1/orders/7", None, 200),
        ("a store that is not there", "GET", "/rest/mars/V1/orders/7", None, 404),
        ("no such route", "GET", "/V1/customers", None, 404),
        ("another method", "POST", "/V1/orders/7", {}, 404),
        ("the number that customers see is no id", "GET", "/V1/orders/000000999", None, 404),
        ("a text for an id", "GET", "/V1/orders/abc", None, 400),
        ("an order that is not there", "POST", "/V1/orders/8/cancel", None, 404),
        ("an invoice that is not there", "POST", "/V1/invoice/9/refund", {}, 404),
        ("a memo that is not there", "GET", "/V1/creditmemo/1", None, 404),
        ("no JSON", "POST", "/V1/order/7/refund", b"{", 400),
        ("a list for a body", "POST", "/V1/order/7/refund", b"[]", 400),
    ],
)
def test_paths_and_bodies(shop: Shop, _case: str, method: str, path: str, body: Any, wanted: int) -> None:
    status, answer = shop.send(method, path, body)
    assert status == wanted, answer
    assert status == 200 or answer["message"]
    assert shop.book() == []


def test_bodies_are_json_and_answers_too(shop: Shop) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    # The body's fields would be signed as well, where it is a form: a bearer keeps that apart.
    shop.set(bearer=True)
    bearer = {"authorization": f"Bearer {magento.ACCESS_TOKEN}"}
    assert shop.send("POST", "/V1/order/7/refund", b"notify=1", headers={**bearer, **form})[0] == 400
    assert shop.send("GET", "/V1/orders/7", headers={"accept": "text/html"})[0] == 406
    assert shop.book() == []


@pytest.mark.parametrize(
    ("_case", "body"),
    [
        ("a text for a quantity", {"items": [{"order_item_id": 31, "qty": "two"}]}),
        ("no quantity", {"items": [{"order_item_id": 31}]}),
        ("no line", {"items": [{"qty": 1}]}),
        ("a name that items do not have", {"items": [{"order_item_id": 31, "qty": 1, "amount": 5}]}),
        ("a name that arguments do not have", {"arguments": {"shipping": 0}}),
        ("an array for arguments", {"arguments": [1]}),
        ("a comment without its flag", {"comment": {"comment": "x"}}),
        ("a text for an amount", {"arguments": {"shipping_amount": "free"}}),
        ("items that are no list", {"items": {"order_item_id": 31, "qty": 1}}),
    ],
)
def test_a_malformed_refund_is_refused_and_moves_nothing(shop: Shop, _case: str, body: Any) -> None:
    status, answer = shop.refund(**body)
    assert (status, bool(answer["message"])) == (400, True)
    assert (shop.book(), shop.get("/V1/creditmemos", "searchCriteria")["total_count"]) == ([], 0)


def test_an_order_says_what_it_is_and_leaves_out_what_it_has_not(shop: Shop) -> None:
    held = shop.seed(number="H1", payments=[{"is_captured": False}])
    order, open_order = shop.get("/V1/orders/7"), shop.get(f"/V1/orders/{held['id']}")

    assert (order["increment_id"], order["state"], order["status"]) == (
        "000000123",
        "processing",
        "processing",
    )
    assert (order["grand_total"], order["total_paid"], order["shipping_amount"]) == (42.5, 42.5, 5)
    assert (order["payment"]["method"], order["payment"]["last_trans_id"]) == ("braintree", "bt_1")
    assert [(x["item_id"], x["qty_ordered"], x["qty_invoiced"], x["price"]) for x in order["items"]] == [
        (31, 2, 2, 15),
        (32, 1, 1, 7.5),
    ]
    assert "total_refunded" not in order
    assert ("total_paid" in open_order, open_order["payment"]["amount_authorized"]) == (False, 10)
    assert shop.get("/V1/orders/7/statuses") == "processing"


# ---------------------------------------------------------------- cancelling


def test_an_order_without_an_invoice_is_cancelled_its_hold_on_the_card_let_go_and_its_stock_back(
    shop: Shop,
) -> None:
    lines = [{"id": 51, "sku": "CUP", "quantity": 3, "unit_minor": 1000, "stock": 4}]
    payments = [{"is_captured": False, "transaction_id": "auth_1"}]
    shop.seed(id=9, number="C9", lines=lines, payments=payments, shipping_minor=250)
    shop.send("POST", "/V1/orders/9/comments", note("refundflow op_9"))
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, True)

    order = shop.get("/V1/orders/9")
    assert (order["state"], order["status"], order["total_canceled"]) == ("canceled", "canceled", 32.5)
    assert order["items"][0]["qty_canceled"] == 3
    assert shop.salable("CUP") == 7
    reference = "refundflow op_9"
    target = {"order": "9", "number": "C9"}
    assert [
        (x["effect"], x["id"], x["amount_minor"], x.get("quantity"), x["reference"], x["target"])
        for x in shop.vendor.book.lines()
    ] == [
        ("void", "auth_1-void", 3250, None, reference, {**target, "payment": "auth_1"}),
        ("restock", "51", None, 3, reference, target),
        ("cancel_order", "9", None, None, reference, target),
    ]


def test_cancelling_twice_answers_false_with_a_200_and_does_nothing(shop: Shop) -> None:
    shop.seed(id=9, payments=[{"is_captured": False, "gateway": "checkmo"}])
    answers = [shop.send("POST", "/V1/orders/9/cancel") for _ in range(2)]
    assert answers == [(200, True), (200, False)]
    assert shop.book() == [("restock", 1), ("cancel_order", None)]


@pytest.mark.parametrize(
    ("_case", "order"),
    [
        ("invoiced", {}),
        ("on hold", {"state": "holded", "payments": [{"is_captured": False}]}),
        ("in payment review", {"state": "payment_review", "payments": [{"is_captured": False}]}),
        ("complete", {"lines": [{"sku": "X", "quantity": 1, "unit_minor": 100, "shipped": 1}]}),
        ("canceled", {"state": "canceled", "payments": [{"is_captured": False}]}),
        ("closed", {"state": "closed"}),
    ],
)
def test_what_cannot_be_cancelled_is_a_200_with_false(shop: Shop, _case: str, order: dict[str, Any]) -> None:
    made = shop.seed(**order)
    assert shop.send("POST", f"/V1/orders/{made['id']}/cancel") == (200, False)
    assert shop.state(made["id"]) == made["state"]
    assert shop.book() == []


def test_a_hold_is_taken_off_before_cancelling(shop: Shop) -> None:
    shop.seed(id=9, payments=[{"is_captured": False}])
    assert shop.send("POST", "/V1/orders/9/hold") == (200, True)
    assert shop.send("POST", "/V1/orders/9/hold")[0] == 400
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, False)
    assert shop.send("POST", "/V1/orders/9/unhold") == (200, True)
    assert shop.send("POST", "/V1/orders/9/unhold")[1]["message"] == "You cannot remove the hold."
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, True)
    assert shop.book("cancel_order") == [("cancel_order", None)]


def test_a_partly_invoiced_order_answers_true_but_stays_processing(shop: Shop) -> None:
    lines = [{"id": 51, "sku": "CUP", "quantity": 3, "unit_minor": 1000, "stock": 4}]
    made = shop.seed(id=9, lines=lines, invoices=[{"lines": {"CUP": 1}}])
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, True)

    order = shop.get("/V1/orders/9")
    assert (order["state"], order["items"][0]["qty_canceled"]) == ("processing", 2)
    assert shop.book() == [("restock", 2), ("cancel_items", None)]
    assert shop.refund(made["invoices"][0])[0] == 200
    assert (shop.state(9), shop.book("refund")) == ("closed", [("refund", 1000)])


def test_a_refused_void_stops_the_cancellation(shop: Shop) -> None:
    shop.seed(id=9, payments=[{"is_captured": False}])
    shop.fault(operation="cancel_order", kind="refuse", code="void_failed")
    shop.fault(operation="cancel_order", kind="refuse")
    assert shop.send("POST", "/V1/orders/9/cancel")[0] == 400
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, False)
    assert (shop.state(9), shop.book()) == ("processing", [])


def test_a_voided_invoice_lets_the_order_be_cancelled(shop: Shop) -> None:
    made = shop.seed(id=9, invoices=[{"can_void": True}])
    assert shop.send("POST", f"/V1/invoices/{shop.order['invoices'][0]}/void")[0] == 400
    assert shop.send("POST", f"/V1/invoices/{made['invoices'][0]}/void") == (200, True)
    assert shop.send("POST", f"/V1/invoices/{made['invoices'][0]}/void")[0] == 400
    assert shop.get(f"/V1/invoices/{made['invoices'][0]}")["state"] == 3
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, True)
    assert shop.book() == [("void", 1000), ("restock", 1), ("cancel_order", None)]


# ---------------------------------------------------------------- refunds


def refund_of(item: int, quantity: float, shipping: float = 0, **more: Any) -> dict[str, Any]:
    arguments = {"shipping_amount": shipping, **more}
    items = [{"order_item_id": item, "qty": quantity}]
    told = {"items": items, "appendComment": True, "comment": PRACTICE, "arguments": arguments}
    return {"isOnline": True, **told}


def test_an_online_refund_is_paid_and_can_be_read_back(shop: Shop) -> None:
    status, id = shop.send("POST", "/V1/invoice/1/refund", refund_of(31, 1))
    assert (status, type(id)) == (200, int)

    memo, order = shop.get(f"/V1/creditmemo/{id}"), shop.get("/V1/orders/7")
    assert (memo["grand_total"], memo["state"], memo["order_id"], memo["invoice_id"]) == (15, 2, 7, 1)
    assert [(x["order_item_id"], x["qty"], x["row_total"]) for x in memo["items"]] == [(31, 1, 15)]
    assert [x["comment"] for x in memo["comments"]] == ["refundflow op_1"]
    assert (order["state"], order["total_refunded"], order["total_online_refunded"]) == ("processing", 15, 15)
    assert "total_offline_refunded" not in order
    assert order["items"][0]["qty_refunded"] == 1
    refunds = shop.get("/V1/transactions", criteria(("txn_type", "eq", "refund")))["items"]
    assert [(x["txn_id"], x["parent_txn_id"]) for x in refunds] == [(memo["transaction_id"], "bt_1")]
    lines = shop.vendor.book.lines()
    assert [
        (x["effect"], x["id"], x["amount_minor"], x["currency"], x["reference"], x["target"]) for x in lines
    ] == [
        (
            "refund",
            str(id),
            1500,
            "EUR",
            "refundflow op_1",
            {"order": "7", "number": "000000123", "invoice": "1", "payment": "bt_1"},
        )
    ]


def test_an_offline_refund_of_the_order_moves_no_money(shop: Shop) -> None:
    body = {**refund_of(31, 1), "isOnline": True}
    status, id = shop.send("POST", "/V1/order/7/refund", body)

    assert status == 200
    memo, order = shop.get(f"/V1/creditmemo/{id}"), shop.get("/V1/orders/7")
    assert ("transaction_id" in memo, "invoice_id" in memo) == (False, False)
    assert (order["total_offline_refunded"], order["total_refunded"]) == (15, 15)
    assert [(x["effect"], x["amount_minor"], x["reference"]) for x in shop.vendor.book.lines()] == [
        ("record_refund", 1500, "refundflow op_1")
    ]


@pytest.mark.parametrize("body", [{}, {"isOnline": False}, {"online": True}, {"isonline": True}])
def test_an_invoice_refund_that_does_not_say_online_is_only_written_down(
    shop: Shop, body: dict[str, Any]
) -> None:
    assert shop.send("POST", "/V1/invoice/1/refund", body)[0] == 200
    assert shop.book() == [("record_refund", 4250)]


def test_both_spellings_of_a_name_are_taken(shop: Shop) -> None:
    body = {"is_online": True, "items": [{"orderItemId": 31, "qty": 1}], "arguments": {"shippingAmount": 0}}
    assert shop.send("POST", "/V1/invoice/1/refund", body)[0] == 200
    assert shop.book() == [("refund", 1500)]


@pytest.mark.parametrize(
    ("_case", "body", "amount"),
    [
        ("nothing said: everything", {}, 4250),
        ("an empty list: everything", {"items": []}, 4250),
        ("all lines, no shipping", {"arguments": {"shipping_amount": 0}}, 3750),
        ("a line, shipping not said: all of it", {"items": [{"order_item_id": 31, "qty": 1}]}, 2000),
        ("null is not said", {**refund_of(31, 1), "arguments": {"shipping_amount": None}}, 2000),
        ("a line and half the shipping", refund_of(31, 1, 2.5), 1750),
        ("a line and something on top", refund_of(31, 1, adjustment_positive=3.21), 1821),
        ("a line less a fee", refund_of(31, 1, adjustment_negative=0.7), 1430),
        ("shipping alone, a line with no units", refund_of(31, 0, 5), 500),
        ("a line that is not in the order is ignored", {"items": [{"order_item_id": 99, "qty": 1}]}, 500),
        ("more than there is, cut down", refund_of(31, 3), 3000),
        ("a fraction, cut off", refund_of(31, 1.9), 1500),
    ],
)
def test_amounts_follow_from_quantities_shipping_and_adjustments(
    shop: Shop, _case: str, body: dict[str, Any], amount: int
) -> None:
    assert shop.refund(**body) == (200, 1)
    assert shop.book() == [("refund", amount)]
    assert shop.get("/V1/creditmemo/1")["grand_total"] == amount / 100


@pytest.mark.parametrize(
    ("_case", "path", "body", "words"),
    [
        ("too many, on the order", "/V1/order/7/refund", refund_of(31, 3), 'product SKU "MUG"'),
        ("less than none", "/V1/invoice/1/refund", refund_of(31, -1), "invalid quantity to refund item"),
        ("nothing", "/V1/invoice/1/refund", refund_of(31, 0), "total must be positive"),
        (
            "more money than there is",
            "/V1/order/7/refund",
            refund_of(31, 2, 5, adjustment_positive=10),
            "The most money available to refund is 42.5.",
        ),
        ("too much shipping", "/V1/invoice/1/refund", refund_of(31, 1, 5.01), "Maximum shipping amount"),
        (
            "stock of a line that is not refunded",
            "/V1/invoice/1/refund",
            refund_of(31, 1, extension_attributes={"return_to_stock_items": [32]}),
            'The "TEA" product is not part of the current creditmemo.',
        ),
        (
            "stock of a line that is not there",
            "/V1/invoice/1/refund",
            refund_of(31, 1, extension_attributes={"return_to_stock_items": [99]}),
            "not part of the original order",
        ),
    ],
)
def test_a_refund_that_magento_would_refuse_moves_nothing(
    shop: Shop, _case: str, path: str, body: Any, words: str
) -> None:
    status, answer = shop.send("POST", path, body)
    assert status == 400
    assert words in answer["message"]
    assert shop.book() == []
    assert shop.salable("MUG") == 5


def test_too_large_a_quantity_on_an_invoice_can_be_refused_instead(shop: Shop) -> None:
    shop.set(caps_quantities=False)
    assert shop.refund(**refund_of(31, 3))[0] == 400
    assert shop.book() == []


def test_an_empty_list_of_items_can_mean_nothing_instead(shop: Shop) -> None:
    shop.set(is_empty_everything=False)
    assert shop.refund(items=[]) == (200, 1)
    assert shop.book() == [("refund", 500)]


@pytest.mark.parametrize("state", ["holded", "payment_review", "canceled", "closed"])
def test_no_credit_memo_in_these_states(shop: Shop, state: str) -> None:
    payments = [{"is_captured": False}] if state == "canceled" else [{}]
    made = shop.seed(state=state, payments=payments)
    status, answer = shop.send("POST", f"/V1/order/{made['id']}/refund", {})
    assert status == 400
    assert f"A creditmemo can not be created when an order has a status of {state}" in answer["message"]
    assert shop.book() == []


def test_an_order_that_is_not_paid_has_nothing_to_refund(shop: Shop) -> None:
    made = shop.seed(payments=[{"is_captured": False}])
    status, answer = shop.send("POST", f"/V1/order/{made['id']}/refund", {})
    assert (status, answer["message"].split("\n")) == (
        400,
        [
            "Creditmemo Document Validation Error(s):",
            "The order does not allow a creditmemo to be created.",
            "We can't create creditmemo for the order.",
            "The credit memo's total must be positive.",
        ],
    )


def test_a_fully_refunded_order_that_was_not_shipped_is_closed_and_pays_once(shop: Shop) -> None:
    assert shop.refund() == (200, 1)
    assert shop.state() == "closed"
    again = [shop.refund()[0], shop.send("POST", "/V1/order/7/refund", {})[0]]
    assert again == [400, 400]
    assert shop.send("POST", "/V1/orders/7/cancel") == (200, False)
    assert shop.book() == [("refund", 4250)]


def test_shipping_left_behind_cannot_be_refunded_and_the_order_looks_complete(shop: Shop) -> None:
    assert shop.refund(arguments={"shipping_amount": 0})[0] == 200
    assert shop.state() == "complete"
    status, answer = shop.refund(**refund_of(31, 0, 5))
    assert (status, "does not allow a creditmemo" in answer["message"]) == (400, True)
    assert shop.book() == [("refund", 3750)]


def test_parts_of_taxed_and_discounted_rows_sum_to_the_row(shop: Shop) -> None:
    line = {"id": 61, "sku": "SET", "quantity": 3, "unit_minor": 333, "tax_minor": 100, "discount_minor": 50}
    made = shop.seed(id=9, lines=[line], shipping_minor=100, shipping_tax_minor=19)
    invoice = made["invoices"][0]
    for shipping in (0.33, 0.33, 0.34):
        assert shop.refund(invoice, **refund_of(61, 1, shipping))[0] == 200

    amounts = [amount for _, amount in shop.book("refund")]
    assert (amounts, sum(amounts)) == ([388, 391, 389], 999 + 100 - 50 + 119)
    assert shop.state(9) == "closed"


def test_amounts_in_a_request_are_in_the_base_currency(shop: Shop) -> None:
    made = shop.seed(
        id=9,
        currency="JPY",
        base_currency="USD",
        base_to_order_rate="150",
        lines=[{"id": 61, "sku": "SET", "quantity": 1, "unit_minor": 3000}],
        shipping_minor=1500,
    )
    assert shop.refund(made["invoices"][0], **refund_of(61, 1, 4))[0] == 200
    memo = shop.get("/V1/creditmemo/1")
    assert (memo["grand_total"], memo["base_grand_total"], memo["shipping_amount"]) == (3600, 24, 600)
    line = shop.vendor.book.lines("refund")[0]
    assert (line["amount_minor"], line["currency"]) == (3600, "JPY")
    assert (line["base_amount_minor"], line["base_currency"]) == (2400, "USD")


def test_an_offline_method_can_only_be_written_down_on_the_order(shop: Shop) -> None:
    made = shop.seed(id=9, payments=[{"gateway": "checkmo"}])
    status, answer = shop.refund(made["invoices"][0])
    assert (status, "We can't create creditmemo for the invoice." in answer["message"]) == (400, True)
    assert shop.send("POST", "/V1/order/9/refund", {})[0] == 200
    assert shop.book() == [("record_refund", 1000)]


def test_a_comment_that_is_not_appended_is_lost_but_known_to_the_book(shop: Shop) -> None:
    body = {**refund_of(31, 1), "appendComment": False}
    shop.refund(**body)
    shop.set(keeps_every_comment=True)
    shop.refund(**body)
    assert [len(shop.get(f"/V1/creditmemo/{id}")["comments"]) for id in (1, 2)] == [0, 1]
    assert [x["reference"] for x in shop.vendor.book.lines("refund")] == ["refundflow op_1"] * 2


def test_there_is_no_idempotency(shop: Shop) -> None:
    for _ in range(2):
        assert shop.refund(**refund_of(31, 1))[0] == 200
    assert shop.book() == [("refund", 1500), ("refund", 1500)]
    assert [x["idempotency_key"] for x in shop.vendor.book.lines()] == [None, None]


# ---------------------------------------------------------------- the ambiguous error


def test_could_not_refund_has_paid_but_left_no_credit_memo(shop: Shop) -> None:
    shop.fault(operation="refund_invoice", kind="refuse", code="could_not_refund")
    status, answer = shop.refund(**refund_of(31, 1))

    assert (status, answer["message"]) == (400, "Could not save a Creditmemo, see error log for details")
    assert shop.get("/V1/creditmemos", criteria(("order_id", "eq", "7")))["items"] == []
    assert "total_refunded" not in shop.get("/V1/orders/7")
    lines = shop.vendor.book.lines()
    assert [(x["effect"], x["amount_minor"], x["reference"], x["is_rolled_back"]) for x in lines] == [
        ("refund", 1500, "refundflow op_1", True)
    ]
    # What should follow: the same refund, written down only.
    assert shop.send("POST", "/V1/order/7/refund", refund_of(31, 1))[0] == 200
    assert shop.book() == [("refund", 1500), ("record_refund", 1500)]


def test_trying_again_after_could_not_refund_pays_twice(shop: Shop) -> None:
    shop.fault(operation="refund_invoice", kind="refuse", code="could_not_refund")
    answers = [shop.refund(**refund_of(31, 1))[0] for _ in range(2)]
    assert answers == [400, 200]
    assert shop.book() == [("refund", 1500), ("refund", 1500)]


def test_the_gateway_never_pays_back_more_than_it_took(shop: Shop) -> None:
    shop.fault(operation="refund_invoice", kind="refuse", code="could_not_refund")
    answers = [shop.refund() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 400
    assert shop.book() == [("refund", 4250)]


def test_a_declined_refund_says_the_same_and_has_paid_nothing(shop: Shop) -> None:
    shop.fault(operation="refund_invoice", kind="refuse", code="gateway_declined")
    status, answer = shop.refund()
    assert (status, answer["message"]) == (400, "Could not save a Creditmemo, see error log for details")
    assert (shop.book(), shop.state()) == ([], "processing")


def test_an_offline_refund_that_could_not_be_saved_leaves_nothing(shop: Shop) -> None:
    shop.fault(operation="refund_order", kind="refuse", code="could_not_refund")
    assert shop.send("POST", "/V1/order/7/refund", {})[0] == 400
    assert shop.book() == []


def test_an_invoice_without_a_transaction_cannot_be_paid_back_online(shop: Shop) -> None:
    made = shop.seed(id=9, payments=[{"gateway": "braintree", "transaction_id": None}])
    status, answer = shop.refund(made["invoices"][0])
    assert (status, answer["message"]) == (400, "Could not save a Creditmemo, see error log for details")
    assert shop.book() == []


def test_a_gateway_without_partial_refunds_declines_a_part(shop: Shop) -> None:
    lines = [{"id": 61, "sku": "SET", "quantity": 2, "unit_minor": 1000}]
    made = shop.seed(lines=lines, payments=[{"is_partly_refundable": False}])
    assert shop.refund(made["invoices"][0], **refund_of(61, 1))[0] == 400
    assert shop.book() == []
    assert shop.refund(made["invoices"][0])[0] == 200
    assert shop.book() == [("refund", 2000)]


# ---------------------------------------------------------------- stock


def test_only_the_lines_named_go_back_to_stock(shop: Shop) -> None:
    wanted = {"extension_attributes": {"return_to_stock_items": [31]}}
    assert shop.refund(arguments=wanted, comment=PRACTICE)[0] == 200

    assert (shop.salable("MUG"), shop.salable("TEA")) == (7, 3)
    lines = shop.vendor.book.lines("restock")
    assert [(x["id"], x["sku"], x["quantity"], x["reference"], x["target"]) for x in lines] == [
        ("31", "MUG", 2, "refundflow op_1", {"order": "7", "number": "000000123"})
    ]
    # Tea that was not returned is gone from the warehouse too, so that nothing else can bring it back.
    sources = shop.get("/V1/inventory/source-items", criteria(("sku", "in", "MUG,TEA")))["items"]
    assert [(x["sku"], x["quantity"]) for x in sources] == [("MUG", 7), ("TEA", 3)]


def test_shipped_units_go_back_to_their_source(shop: Shop) -> None:
    shop.world.settle("magento", {"order": 7, "ship": {"MUG": 1}})
    before = shop.world.settle("magento", {"sku": "MUG"})[0]
    wanted = {"extension_attributes": {"return_to_stock_items": [31]}}
    shop.refund(items=[{"order_item_id": 31, "qty": 2}], arguments=wanted)

    assert before == {"sku": "MUG", "stock": 5, "source": 6}
    assert shop.world.settle("magento", {"sku": "MUG"}) == [{"sku": "MUG", "stock": 7, "source": 7}]
    assert shop.book("restock") == [("restock", 2)]


def test_a_refund_without_return_to_stock_raises_no_stock(shop: Shop) -> None:
    shop.refund()
    assert (shop.salable("MUG"), shop.salable("TEA")) == (5, 3)
    assert shop.book("restock") == []


def test_a_configurable_product_is_refunded_by_its_parent_line(shop: Shop) -> None:
    lines = [
        {"id": 71, "sku": "SHIRT-M", "type": "configurable", "quantity": 1, "unit_minor": 2000, "stock": 0}
    ]
    made = shop.seed(id=9, lines=lines)
    items = shop.get("/V1/orders/9")["items"]
    assert [(x["item_id"], x.get("parent_item_id"), x["price"]) for x in items] == [
        (71, None, 20),
        (72, 71, 0),
    ]
    assert shop.refund(made["invoices"][0], **refund_of(72, 1))[0] == 400
    body = refund_of(71, 1, extension_attributes={"return_to_stock_items": [71]})
    assert shop.refund(made["invoices"][0], **body)[0] == 200
    assert [x["qty_refunded"] for x in shop.get("/V1/orders/9")["items"]] == [1, 1]
    assert shop.book() == [("refund", 2000), ("restock", 1)]
    assert shop.salable("SHIRT-M") == 1


def test_virtual_goods_have_no_stock(shop: Shop) -> None:
    line = {"id": 71, "sku": "GIFT", "type": "virtual", "quantity": 1, "unit_minor": 2000}
    made = shop.seed(id=9, lines=[line], payments=[{"is_captured": False, "can_void": False}])
    assert made["stock"] == {}
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, True)
    assert shop.book() == [("cancel_order", None)]


def test_stock_is_asked_for_by_a_sku_that_may_need_encoding(shop: Shop) -> None:
    shop.seed(lines=[{"sku": "A B", "quantity": 1, "unit_minor": 100, "stock": 4}])
    assert shop.salable("A%20B") == 4
    # A server hands the path over decoded, while the caller signed it encoded.
    path = "/rest/default/V1/inventory/get-product-salable-quantity/A B/1"
    url = f"https://{HOST}/magento{quote(path)}"
    assert shop.send("GET", path, url=url) == (200, 4)
    assert shop.send("GET", "/V1/inventory/get-product-salable-quantity/NONE/1")[0] == 404
    assert shop.send("GET", "/V1/inventory/get-product-salable-quantity/MUG/2")[0] == 404


# ---------------------------------------------------------------- comments


def note(text: str, **more: Any) -> dict[str, Any]:
    told = {"comment": text, "is_customer_notified": 0, "is_visible_on_front": 0, "status": "processing"}
    return {"statusHistory": {**told, **more}}


def test_a_comment_is_kept_on_the_order(shop: Shop) -> None:
    shop.now += timedelta(minutes=5)
    assert shop.send("POST", "/V1/orders/7/comments", note("refundflow op_1")) == (200, True)
    order, listed = shop.get("/V1/orders/7"), shop.get("/V1/orders/7/comments")
    assert [x["comment"] for x in order["status_histories"]] == ["refundflow op_1"]
    assert (listed["total_count"], listed["items"][0]["parent_id"]) == (1, 7)
    assert (order["status"], order["updated_at"]) == ("processing", "2026-11-23 12:05:00")
    assert shop.book() == []


def test_a_comment_may_change_or_lose_the_status(shop: Shop) -> None:
    shop.set(statuses=["packing"])
    assert shop.send("POST", "/V1/orders/7/comments", note("x", status="packing"))[0] == 200
    order = shop.get("/V1/orders/7")
    assert (order["state"], order["status"]) == ("processing", "packing")
    assert shop.send("POST", "/V1/orders/7/comments", note("x", status="nonsense"))[0] == 400
    assert shop.send("POST", "/V1/orders/7/comments", note("x", status=None))[0] == 200
    assert "status" not in shop.get("/V1/orders/7")


def test_newer_shops_refuse_a_comment_with_another_status(shop: Shop) -> None:
    shop.set(comment_status="refused")
    assert shop.send("POST", "/V1/orders/7/comments", note("x", status="complete"))[0] == 400
    assert shop.send("POST", "/V1/orders/7/comments", note("x", status=None))[0] == 200
    assert shop.get("/V1/orders/7/statuses") == "processing"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"statusHistory": {"comment": "x", "is_visible_on_front": 0}},
        {"statusHistory": {"comment": "x", "is_customer_notified": 0, "is_visible_on_front": 0, "x": 1}},
    ],
)
def test_a_malformed_comment_is_refused(shop: Shop, body: dict[str, Any]) -> None:
    assert shop.send("POST", "/V1/orders/7/comments", body)[0] == 400
    assert shop.get("/V1/orders/7/comments")["items"] == []


# ---------------------------------------------------------------- lists


def test_an_order_is_found_by_the_number_that_customers_see(shop: Shop) -> None:
    status, found = shop.find("orders", ("increment_id", "eq", "000000123"))
    assert (status, found["total_count"], [x["entity_id"] for x in found["items"]]) == (200, 1, [7])
    filters = [{"field": "increment_id", "value": "000000123", "condition_type": "eq"}]
    assert found["search_criteria"] == {"filter_groups": [{"filters": filters}]}
    assert shop.find("orders", ("increment_id", "eq", "123"))[1]["items"] == []


def test_polling_by_time_of_change_sees_what_changed(shop: Shop) -> None:
    shop.seed(id=8, created_at="2026-11-01T00:00:00Z")
    shop.now += timedelta(minutes=10)
    at = "2026-11-23 12:00:00"
    assert shop.find("orders", ("updated_at", "gt", at))[1]["items"] == []
    shop.send("POST", "/V1/orders/8/hold")
    changed = shop.find("orders", ("updated_at", "gt", at))[1]["items"]
    assert [(x["entity_id"], x["created_at"], x["updated_at"]) for x in changed] == [
        (8, "2026-11-01 00:00:00", "2026-11-23 12:10:00")
    ]
    assert shop.find("orders", ("updated_at", "gteq", at))[1]["total_count"] == 2
    assert shop.find("orders", ("updated_at", "gt", "2026-11-23T12:00:00Z"))[0] == 500


@pytest.mark.parametrize(
    ("_case", "wanted", "ids"),
    [
        ("eq", ("entity_id", "eq", "8"), [8]),
        ("a number as text", ("entity_id", "eq", "8.0"), [8]),
        ("neq", ("entity_id", "neq", "8"), [7, 9]),
        ("gt", ("grand_total", "gt", "20"), [7]),
        ("gteq", ("grand_total", "gteq", "20"), [7, 9]),
        ("lt", ("grand_total", "lt", "20"), [8]),
        ("lteq", ("grand_total", "lteq", "20"), [8, 9]),
        ("from", ("entity_id", "from", "8"), [8, 9]),
        ("to", ("entity_id", "to", "8"), [7, 8]),
        ("in", ("entity_id", "in", "7,9"), [7, 9]),
        ("nin", ("entity_id", "nin", "7,9"), [8]),
        ("like, in any case", ("customer_email", "like", "JANE@%"), [7]),
        ("nlike", ("customer_email", "nlike", "jane@%"), [8, 9]),
        ("null", ("total_paid", "null", "1"), [9]),
        ("notnull", ("total_paid", "notnull", "1"), [7, 8]),
        ("finset", ("state", "finset", "processing"), [7, 8, 9]),
        ("an absent value is not different from anything", ("total_paid", "neq", "1"), [7, 8]),
    ],
)
def test_filters(shop: Shop, _case: str, wanted: tuple[str, str, str], ids: list[int]) -> None:
    shop.seed(id=8)
    shop.seed(
        id=9,
        lines=[{"sku": "MUG", "quantity": 2, "unit_minor": 1000}],
        payments=[{"is_captured": False}],
    )
    status, found = shop.find("orders", wanted)
    assert (status, [x["entity_id"] for x in found["items"]]) == (200, ids)


def test_filters_of_a_group_are_alternatives_and_groups_are_all_needed(shop: Shop) -> None:
    shop.seed(id=8)
    shop.seed(id=9)
    pairs = {
        "searchCriteria[filter_groups][0][filters][0][field]": "entity_id",
        "searchCriteria[filter_groups][0][filters][0][value]": "7",
        "searchCriteria[filter_groups][0][filters][1][field]": "entity_id",
        "searchCriteria[filter_groups][0][filters][1][value]": "8",
        "searchCriteria[filter_groups][1][filters][0][field]": "grand_total",
        "searchCriteria[filter_groups][1][filters][0][condition_type]": "lt",
        "searchCriteria[filter_groups][1][filters][0][value]": "20",
    }
    found = shop.get("/V1/orders", urlencode(pairs))
    assert [x["entity_id"] for x in found["items"]] == [8]


def test_pages_and_the_one_behind_the_last(shop: Shop) -> None:
    for id in (8, 9):
        shop.seed(id=id)

    def page(number: int, **more: Any) -> tuple[list[int], int]:
        sort = {"sortOrders__0__field": "entity_id", "sortOrders__0__direction": "ASC", **more}
        _, found = shop.find("orders", pageSize=2, currentPage=number, **sort)
        return [x["entity_id"] for x in found["items"]], found["total_count"]

    assert [page(1), page(2), page(3), page(0)] == [([7, 8], 3), ([9], 3), ([9], 3), ([7, 8], 3)]
    assert page(1, sortOrders__0__direction="DESC") == ([9, 8], 3)
    shop.set(repeats_last_page=False)
    assert page(3) == ([], 3)


def test_a_sort_without_direction_is_descending(shop: Shop) -> None:
    shop.seed(id=8)
    _, found = shop.find("orders", sortOrders__0__field="entity_id")
    assert [x["entity_id"] for x in found["items"]] == [8, 7]


def test_a_merchant_may_cap_pages(shop: Shop) -> None:
    shop.set(page_size_cap=300)
    status, answer = shop.find("orders", pageSize=301)
    assert (status, answer["parameters"]) == (400, [300])
    assert shop.find("orders", pageSize=300)[0] == 200


@pytest.mark.parametrize(
    ("_case", "query", "wanted"),
    [
        ("no criteria at all", "", 400),
        ("empty criteria", "searchCriteria", 200),
        ("an unknown column", criteria(("number", "eq", "1")), 500),
        ("an unknown column to sort by", criteria(sortOrders__0__field="number"), 500),
        ("an unknown condition", criteria(("entity_id", "is", "1")), 400),
        ("an unknown direction", criteria(sortOrders__0__field="state", sortOrders__0__direction="up"), 400),
        ("an unknown part", criteria(page="1"), 400),
        ("a page size that is no number", criteria(pageSize="all"), 400),
        ("other parameters are ignored", "searchCriteria=&increment_id=1", 200),
    ],
)
def test_search_criteria_are_read_strictly(shop: Shop, _case: str, query: str, wanted: int) -> None:
    status, answer = shop.send("GET", "/V1/orders", query=query)
    assert status == wanted, answer
    assert status != 200 or answer["total_count"] == 1


def test_invoices_and_credit_memos_are_listed_by_order(shop: Shop) -> None:
    shop.seed(id=8)
    shop.refund(**refund_of(31, 1))
    invoices = shop.find("invoices", ("order_id", "eq", "7"))[1]["items"]
    memos = shop.find("memos", ("order_id", "eq", "7"))[1]["items"]
    assert [(x["entity_id"], x["state"], x["grand_total"], x["transaction_id"]) for x in invoices] == [
        (1, 2, 42.5, "bt_1")
    ]
    assert (invoices[0]["is_used_for_refund"], invoices[0]["base_total_refunded"]) == (1, 15)
    assert [(x["entity_id"], x["comments"][0]["comment"]) for x in memos] == [(1, "refundflow op_1")]
    assert shop.find("memos", ("order_id", "eq", "8"))[1]["total_count"] == 0


# ---------------------------------------------------------------- faults, controls


def test_a_lost_reply_has_paid_and_a_lost_request_has_not(shop: Shop) -> None:
    shop.fault(operation="refund_invoice", kind="lost_reply")
    assert shop.refund(**refund_of(31, 1)) == (0, None)
    assert shop.book() == [("refund", 1500)]
    shop.fault(operation="refund_invoice", kind="lost_request")
    assert shop.refund(**refund_of(31, 1)) == (0, None)
    assert shop.book() == [("refund", 1500)]
    assert shop.find("memos", ("order_id", "eq", "7"))[1]["total_count"] == 1


def test_failures_and_refusals_have_magentos_shape(shop: Shop) -> None:
    for kind in ("status", "refuse_auth"):
        shop.fault(operation="get_order", kind=kind)
    internal, refused = shop.send("GET", "/V1/orders/7"), shop.send("GET", "/V1/orders/7")
    assert (internal[0], internal[1]["message"].split("Report ID: ")[0]) == (
        500,
        "Internal Error. Details are available in Magento log file. ",
    )
    assert (refused[0], refused[1]["parameters"]) == (401, {"resources": "Magento_Sales::actions_view"})
    for status in (429, 503):
        shop.fault(operation="get_order", kind="status", status=status)
        assert shop.send("GET", "/V1/orders/7") == (
            status,
            {"message": {429: "Too Many Requests", 503: "Service Temporarily Unavailable"}[status]},
        )


@pytest.mark.parametrize("code", ["", "invalid_quantity"])
def test_a_permanent_refusal_is_a_validation_error(shop: Shop, code: str) -> None:
    shop.fault(operation="refund_invoice", kind="refuse", code=code)
    status, answer = shop.refund()
    assert status == 400
    assert answer["message"].startswith("Creditmemo Document Validation Error(s):\n")
    shop.fault(operation="comment_order", kind="refuse")
    assert shop.send("POST", "/V1/orders/7/comments", note("x"))[0] == 400
    assert shop.book() == []


def test_what_was_seeded_is_not_in_the_book(shop: Shop) -> None:
    refunds = [{**refund_of(81, 1), "is_online": True}]
    lines = [{"id": 81, "sku": "CUP", "quantity": 2, "unit_minor": 500}]
    made = shop.seed(id=9, lines=lines, refunds=refunds, comments=["hello"])
    closed = shop.seed(state="closed")
    canceled = shop.seed(state="canceled", payments=[{"is_captured": False}])
    assert [x["state"] for x in (made, closed, canceled)] == ["processing", "closed", "canceled"]
    assert len(made["creditmemos"]) == 1
    assert shop.get("/V1/orders/9")["total_refunded"] == 5
    assert shop.book() == []


@pytest.mark.parametrize(
    ("_case", "data"),
    [
        ("an unknown key", {"order": []}),
        ("an unknown setting", {"settings": {"colour": "red"}}),
        ("a state that is none", {"orders": [{"lines": [], "state": "gone"}]}),
        (
            "an amount that is not the total",
            {
                "orders": [
                    {
                        "lines": [{"sku": "X", "quantity": 1, "unit_minor": 5}],
                        "payments": [{"amount_minor": 4}],
                    }
                ]
            },
        ),
        ("two payments", {"orders": [{"lines": [], "payments": [{}, {}]}]}),
        ("no lines", {"orders": [{}]}),
    ],
)
def test_what_cannot_be_seeded_is_explained(shop: Shop, _case: str, data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        shop.world.seed({"magento": data})


def test_a_person_in_the_admin_acts_too(shop: Shop) -> None:
    shop.seed(id=9, payments=[{"is_captured": False}])
    moved = [
        shop.world.settle("magento", {"order": "000000123", "admin_refund": {"is_online": True}}),
        shop.world.settle("magento", {"order": 9, "admin_cancel": True}),
    ]
    assert [each[0]["state"] for each in moved] == ["closed", "canceled"]
    assert [(x["effect"], x["by"]) for x in shop.vendor.book.lines() if "by" in x] == [
        ("refund", "admin"),
        ("cancel_order", "admin"),
    ]
    with pytest.raises(ValueError, match="cannot be cancelled"):
        shop.world.settle("magento", {"order": 9, "admin_cancel": True})
    with pytest.raises(NoSuchObjectError):
        shop.world.settle("magento", {"order": 99})


def test_time_moves_an_order_on(shop: Shop) -> None:
    shop.seed(id=9, payments=[{"is_captured": False}])
    assert shop.world.settle("magento", {"order": 9, "invoice": "all"})[0]["invoices"] == [2]
    assert shop.send("POST", "/V1/orders/9/cancel") == (200, False)
    assert shop.world.settle("magento", {"order": 9, "ship": "all"})[0]["state"] == "complete"
    assert shop.world.settle("magento", {"order": 7, "state": "payment_review"})[0]["state"] == (
        "payment_review"
    )
    assert shop.world.settle("magento", {"sku": "MUG", "stock": 50})[0]["stock"] == 50
    assert (shop.salable("MUG"), shop.book()) == (50, [])


def test_a_reset_forgets_everything(shop: Shop) -> None:
    shop.set(bearer=True)
    shop.refund()
    shop.world.reset("magento")
    assert (shop.send("GET", "/V1/orders/7")[0], shop.book()) == (404, [])
    assert shop.vendor.settings == magento.Settings()


# ---------------------------------------------------------------- events


def test_open_source_sends_nothing(shop: Shop) -> None:
    shop.world.webhooks.subscribe("magento", Subscription("https://us.example/hooks", "client_1"))
    shop.refund()
    shop.world.webhooks.wait_idle()
    assert shop.deliveries == []
    with pytest.raises(NoSuchObjectError):
        shop.vendor.event_for("observer.sales_order_save_after", "7")


def test_commerce_sends_signed_events_that_name_their_recipient(shop: Shop) -> None:
    shop.set(edition="commerce")
    shop.world.webhooks.subscribe("magento", Subscription("https://us.example/hooks", "client_1"))
    shop.refund(**refund_of(31, 1))
    shop.world.webhooks.wait_idle()

    events = [json.loads(body) for _, body in shop.deliveries]
    assert [each["type"] for each in events] == [
        "com.adobe.commerce.observer.sales_order_creditmemo_save_after",
        "com.adobe.commerce.observer.sales_order_save_after",
    ]
    assert (events[0]["data"]["value"]["grand_total"], events[0]["recipient_client_id"]) == (15, "client_1")
    assert events[1]["data"]["value"]["total_refunded"] == 15
    headers, body = shop.deliveries[0]
    for number in (1, 2):
        path = headers[f"x-adobe-public-key{number}-path"]
        answer = shop.world.receive("magento", Call("GET", path))
        assert isinstance(answer, Answer)
        signature = base64.b64decode(headers[f"x-adobe-digital-signature-{number}"])
        assert is_signed(answer.payload.decode(), signature, body)
        assert not is_signed(answer.payload.decode(), signature, body + b" ")


def test_an_event_can_be_asked_for_and_keeps_its_id(shop: Shop) -> None:
    shop.set(edition="commerce")
    event = shop.vendor.event_for("observer.sales_order_save_after", "000000123")
    sent = [json.loads(shop.vendor.sign(event, "", "client_1").body)["id"] for _ in range(2)]
    assert sent == [event.id, event.id]
    with pytest.raises(NoSuchObjectError):
        shop.vendor.event_for("observer.sales_order_creditmemo_save_after", "1")
    with pytest.raises(NoSuchObjectError):
        shop.vendor.event_for("observer.catalog_product_save_after", "1")


def is_signed(pem: str, signature: bytes, body: bytes) -> bool:
    """RSA by hand: the modulus is the one long integer of the key, the exponent the usual one."""
    der = base64.b64decode("".join(pem.strip().splitlines()[1:-1]))
    start = der.index(b"\x02\x82\x01\x01\x00") + 5
    modulus = int.from_bytes(der[start : start + 256], "big")
    assert der.endswith(b"\x02\x03\x01\x00\x01")
    opened = pow(int.from_bytes(signature, "big"), 65_537, modulus).to_bytes(256, "big")
    return opened.startswith(b"\x00\x01\xff") and opened.endswith(hashlib.sha256(body).digest())


# ---------------------------------------------------------------- the published description


def test_every_answer_fits_the_published_description(shop: Shop) -> None:
    described = specs("magento") / "admin-2.4.9.swagger.json"
    shop.seed(id=9, number="C9", payments=[{"is_captured": False}], comments=["x"])
    shop.send("POST", "/V1/orders/7/comments", note("refundflow op_1"))
    paid = shop.refund(**refund_of(31, 1))
    check_response(described, "POST", "/V1/invoice/{invoiceId}/refund", *paid, declared_only=True)
    booked = shop.send("POST", "/V1/order/7/refund", refund_of(32, 1))
    check_response(described, "POST", "/V1/order/{orderId}/refund", *booked, declared_only=True)
    cancelled = shop.send("POST", "/V1/orders/9/cancel")
    check_response(described, "POST", "/V1/orders/{id}/cancel", *cancelled, declared_only=True)
    everything = "searchCriteria"
    # Transactions without a parent have nulls which the description does not know of.
    refunds = criteria(("txn_type", "eq", "refund"))
    reads = [
        ("/V1/orders/{id}", "/V1/orders/7", ""),
        ("/V1/orders/{id}", "/V1/orders/9", ""),
        ("/V1/orders", "/V1/orders", criteria(("state", "eq", "canceled"), pageSize=10, currentPage=1)),
        ("/V1/orders/{id}/comments", "/V1/orders/7/comments", ""),
        ("/V1/orders/{id}/statuses", "/V1/orders/7/statuses", ""),
        ("/V1/invoices", "/V1/invoices", everything),
        ("/V1/invoices/{id}", "/V1/invoices/1", ""),
        ("/V1/creditmemos", "/V1/creditmemos", everything),
        ("/V1/creditmemo/{id}", "/V1/creditmemo/1", ""),
        ("/V1/creditmemo/{id}", "/V1/creditmemo/2", ""),
        ("/V1/transactions", "/V1/transactions", refunds),
        ("/V1/inventory/source-items", "/V1/inventory/source-items", everything),
        (
            "/V1/inventory/get-product-salable-quantity/{sku}/{stockId}",
            "/V1/inventory/get-product-salable-quantity/MUG/1",
            "",
        ),
    ]
    for template, path, query in reads:
        check_response(described, "GET", template, 200, shop.get(path, query), declared_only=True)
    # Error parameters are left out: the description knows only one kind of them, while texts and lists are sent.
    for status, answer in (
        shop.refund(**refund_of(31, -1)),
        shop.send("GET", "/V1/orders/1"),
        shop.send("GET", "/V1/orders/7", secret="x&y"),
    ):
        assert status >= 400
        check_document(described, answer, "/definitions/error-response")
