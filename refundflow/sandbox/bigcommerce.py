"""A practice BigCommerce: Orders v2, Orders v3 (payment actions, transactions, metafields), inventory and hooks of one store.

Paths: `/stores/{hash}/v2/…` and `/stores/{hash}/v3/…`. Shapes and rules: the vendor's API descriptions of 2026-04-01 and
its guides to refunds and webhooks (github.com/bigcommerce/docs, read 2026-11-25). Where they are silent, `Habits` says what is practised and how to choose the other.

Strict about: `X-Auth-Token`, scopes, `Accept` and `Content-Type`; `status_id` as a number (`status` is only a label); 204 without a
body for empty v2 lists and for no transactions; item types, quantities and amounts left to refund; payments that equal one whole
inner array of the quote; settled payments; store credit for guests; void of authorised payments only; one metafield per app,
namespace, key and order (409); exact stock identities; the quota of a window, shared by all accounts. There is no idempotency key:
what is sent twice happens twice. A refund is answered before the gateway has acted: the first answer has no `transaction_id`.

Faults: slow_pending on create_refund (nothing is sent until settled) and on void_payment (stays "void pending"); late_failure on
both (declined afterwards). refuse takes a code of `REFUSALS`. A 429 fault carries only the headers that it brings.

`seed({"store"?: {"hash"?, "store_id"?}, "accounts"?: [{"token", "client_id"?, "client_secret"?, "scopes"?}], "habits"?: {…},
"inventory"?: {"refund_order_stock_adjustment"?, "update_stock_behavior"?, …}, "channels"?: {id: {overrides of inventory}},
"locations"?: [{"id", "name"?}], "hook_headers"?: {…}, "orders": [{"id"? or "number"?, "currency"?, "created"?, "modified"?,
"email"?, "customer_id"? (0: a guest), "channel_id"?, "status_id"?, "payment_status"?, "staff_notes"?, "external_order_id"?,
"is_tax_inclusive"?, "lines": [{"id"?, "sku"?, "title"?, "quantity"?, "unit_minor", "unit_tax_minor"?, "discount_minor"?,
"wrapping_minor"?, "shipped"?, "stock"?, "location"?, "tracking"? ("variant", "product", "none"), "product_id"?, "variant_id"?,
"type"?}], "shipping_minor"?, "shipping_tax_minor"?, "handling_minor"?, "fees"?: [{"id"?, "name"?, "amount_minor"}],
"payments"?: [{"gateway"?, "amount_minor"?, "is_captured"?, "is_settled"?, "transaction_id"?, "can_refund"?, "can_refund_part"?}],
"refunds"?: [{"amount_minor"? or "items"?, "reason"?, "is_offline"?, "is_declined"?}]}]})`. Amounts are minor units with tax in
them (`wrapping_minor` for one unit, `discount_minor` for the whole line). Without `payments` all was paid at the testgateway.
Dates are ISO 8601. What is seeded is not in the book. An order's number is its id.

`settle` takes `{"refund": id, "status": "succeeded" | "declined", "message"?}`, `{"order": id, "void": "succeeded" | "failed"}`,
`{"order": id, "payment": "captured" | "settled"}`, `{"order": id, "status_id": n}` and `{"order": id, "panel_refund":
{"items"?, "reason"?, "is_offline"?}}` (a person in the control panel, where stock always follows the setting; without items all
that is left), `{"order": id, "ship": {line id: units} | "all"}`, `{"stock": sku, "quantity"?}`, `{"hook": id, "is_active": bool}`.

Book: `refund` and `record_refund` (one line for each payment of the refund), `refund_failed` (one that was sent came back),
`refund_declined` (never sent), `void`, `void_failed`, `cancel_order`, `restock`, `reduce_stock`, `archive_order`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import random
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime, parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import urlsplit

from refundflow.domain.money import Money, allocate, exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
)

STORE_HASH: Final = "practice"
TOKEN: Final = "practice-bigcommerce-token"  # noqa: S105 (practice secrets, known to everybody)
CLIENT_ID: Final = "practice-bigcommerce-client"
CLIENT_SECRET: Final = "practice-bigcommerce-secret"  # noqa: S105 (a practice secret, known to everybody)
HOOK_HEADERS: Final = {"X-Refundflow-Token": "practice-bigcommerce-hook-token"}

PARTIALLY_SHIPPED, SHIPPED, REFUNDED, CANCELLED, PARTIALLY_REFUNDED = 3, 2, 4, 5, 14
STATUSES: Final = (
    *("Incomplete", "Pending", "Shipped", "Partially Shipped", "Refunded", "Cancelled", "Declined"),
    *("Awaiting Payment", "Awaiting Pickup", "Awaiting Shipment", "Completed", "Awaiting Fulfillment"),
    *("Manual Verification Required", "Disputed", "Partially Refunded"),
)
# What a refuse fault may name in its code: the status and the title.
REFUSALS: Final[Mapping[str, tuple[int, str]]] = {
    "amount_mismatch": (422, "The payments do not add up to the amount of the refund."),
    "already_refunded": (422, "Nothing of this is left to refund."),
    "not_settled": (422, "The payment is not settled yet and cannot be refunded."),
    "guest_store_credit": (422, "A guest has no store credit to refund to."),
    "not_authorized": (422, "The payment of this order is not one that can be voided."),
    "conflict": (409, "A metafield with this namespace and key exists already."),
    "forbidden": (403, "The account has no scope for this."),
    "invalid": (400, "The input is not valid."),
    "unprocessable": (422, "The request cannot be processed."),
    "not_found": (404, "The requested resource was not found."),
}

_TYPE: Final = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"
_DEFAULT_REFUSALS: Final = {
    "update_order": "invalid",
    "archive_order": "invalid",
    "quote_refund": "unprocessable",
    "create_refund": "amount_mismatch",
    "void_payment": "not_authorized",
    "create_metafield": "conflict",
    "adjust_inventory": "unprocessable",
    "create_hook": "unprocessable",
}
_ORDERS: Final = ("store_v2_orders",)
_PAYMENTS: Final = ("store_v2_orders", "store_v2_transactions")
_READ_ORDERS: Final = (*_ORDERS, "store_v2_orders_read_only")
_READ_TRANSACTIONS: Final = ("store_v2_transactions", "store_v2_transactions_read_only")
_READ_INVENTORY: Final = ("store_inventory", "store_inventory_read_only")
_READ_PAYMENTS: Final = (*_READ_ORDERS, *_READ_TRANSACTIONS)
# Hooks need no scope of their own. The settings' scope is named from memory.
_SETTINGS: Final = ("store_v2_information", "store_v2_information_read_only")
_ACTIONS: Final = "/v3/orders/{id}/payment_actions"
# Method, path, operation (the method that carries it out), and the scopes of which any one opens it.
_ROUTES: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    ("GET", "/v2/orders", "list_orders", _READ_ORDERS),
    ("GET", "/v2/orders/{id}", "get_order", _READ_ORDERS),
    ("PUT", "/v2/orders/{id}", "update_order", _ORDERS),
    ("DELETE", "/v2/orders/{id}", "archive_order", _ORDERS),
    ("GET", "/v2/orders/{id}/products", "list_order_products", _READ_ORDERS),
    ("GET", "/v2/orders/{id}/shipping_addresses", "list_shipping_addresses", _READ_ORDERS),
    ("GET", "/v2/orders/{id}/fees", "list_fees", _READ_ORDERS),
    ("GET", "/v2/orders/{id}/shipments", "list_shipments", _READ_ORDERS),
    ("GET", "/v2/order_statuses", "list_order_statuses", _READ_ORDERS),
    ("POST", f"{_ACTIONS}/refund_quotes", "quote_refund", _PAYMENTS),
    ("POST", f"{_ACTIONS}/refunds", "create_refund", _PAYMENTS),
    ("GET", f"{_ACTIONS}/refunds", "list_order_refunds", _READ_PAYMENTS),
    ("POST", f"{_ACTIONS}/void", "void_payment", _PAYMENTS),
    ("GET", "/v3/orders/payment_actions/refunds", "list_refunds", _READ_PAYMENTS),
    ("GET", "/v3/orders/payment_actions/refunds/{id}", "get_refund", _READ_PAYMENTS),
    ("GET", "/v3/orders/{id}/transactions", "list_transactions", _READ_TRANSACTIONS),
    ("POST", "/v3/orders/{id}/metafields", "create_metafield", _ORDERS),
    ("GET", "/v3/orders/{id}/metafields", "list_metafields", _READ_ORDERS),
    ("POST", "/v3/inventory/adjustments/relative", "adjust_inventory", ("store_inventory",)),
    ("GET", "/v3/inventory/items", "list_inventory", _READ_INVENTORY),
    ("GET", "/v3/inventory/locations/{location}/items", "list_location_inventory", _READ_INVENTORY),
    ("GET", "/v3/settings/inventory", "get_inventory_settings", _SETTINGS),
    ("POST", "/v3/hooks", "create_hook", ()),
    ("GET", "/v3/hooks", "list_hooks", ()),
    ("GET", "/v3/hooks/{id}", "get_hook", ()),
    ("PUT", "/v3/hooks/{id}", "update_hook", ()),
)
_SCOPES: Final = {name: scopes for _, _, name, scopes in _ROUTES}
_ALL_SCOPES: Final = frozenset(scope for scopes in _SCOPES.values() for scope in scopes)
_OFFLINE: Final = ("bankdeposit", "cheque", "cod", "custom", "instore", "moneyorder")
_METHODS: Final = {
    **dict.fromkeys(_OFFLINE, "offline"),
    "storecredit": "store_credit",
    "giftcertificate": "gift_certificate",
    "paypalexpress": "electronic_wallet",
}
_BY_QUANTITY: Final = ("PRODUCT", "GIFT_WRAPPING")
_BY_AMOUNT: Final = ("SHIPPING", "HANDLING", "FEE", "TAX", "ORDER")
_ADDRESS: Final = {
    **dict.fromkeys(("company", "street_2", "state", "phone", "email"), ""),
    "first_name": "Practice",
    "last_name": "Customer",
    "street_1": "1 Practice Street",
    "city": "Practiceville",
    "zip": "10115",
    "country": "Germany",
    "country_iso2": "DE",
}
_WRITABLE_TEXTS: Final = ("staff_notes", "customer_message", "external_order_id", "payment_method")
_SORTS: Final = ("id", "customer_id", "date_created", "date_modified", "status_id", "channel_id")
_PERMISSIONS: Final = ("app_only", "read", "write", "read_and_sf_access", "write_and_sf_access")
_TOPICS: Final = (
    *("store/order/statusUpdated", "store/order/updated", "store/order/archived"),
    *("store/order/refund/created", "store/order/transaction/created"),
    "store/product/inventory/order/updated",
)


@dataclass(slots=True)
class Habits:
    """What the vendor leaves open, or what depends on the store's plan.

    `api_adjusts_stock_on`: for which calls of the API ("cancel", "refund") the setting refund_order_stock_adjustment is
    honoured; the two documents contradict each other. `is_cancelled_overwritten`: whether a refund sets a cancelled order
    to Refunded. `is_status_text_refused`: whether a PUT with the read-only `status` is a 400 instead of being ignored.
    `quota` calls in `window_ms`: the default is that of the Pro plan.
    """

    api_adjusts_stock_on: tuple[str, ...] = ("cancel",)
    is_cancelled_overwritten: bool = True
    is_status_text_refused: bool = False
    quota: int = 450
    window_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Account:
    """An API account; its secret signs webhooks."""

    client_id: str
    client_secret: str
    scopes: frozenset[str]


@dataclass(slots=True)
class Item:
    """A thing in stock: `levels` by location."""

    sku: str
    product_id: int
    variant_id: int
    tracking: str
    levels: dict[int, int]


@dataclass(slots=True)
class Line:
    """An order's line. Minor units; `taken`: units that the order took out of stock, `returned`: put back by the setting."""

    id: int
    item: Item
    title: str
    type: str
    location: int
    quantity: int
    unit: int
    unit_tax: int
    discount: int
    wrapping: int
    shipped: int
    taken: int
    returned: int = 0

    @property
    def value(self) -> int:
        return self.unit * self.quantity - self.discount

    @property
    def tax(self) -> int:
        gross = self.unit * self.quantity
        return self.unit_tax * self.quantity * self.value // gross if gross else 0


@dataclass(slots=True)
class Payment:
    """A payment of an order. `returned`: minor units that went back to it, or are on their way."""

    transaction: int
    gateway: str
    amount: int
    is_captured: bool
    is_settled: bool
    reference: str
    can_refund: bool
    can_refund_part: bool
    returned: int = 0

    @property
    def is_offline(self) -> bool:
        return self.gateway in _OFFLINE


@dataclass(slots=True)
class Payback:
    """One payment of a refund. `state`: pending, done or declined; `to`: the payment it goes back to (None: elsewhere)."""

    id: int
    provider: str
    amount: int
    is_offline: bool
    to: Payment | None
    state: str = "pending"
    message: str = ""
    transaction: str = ""


@dataclass(slots=True)
class Refund:
    """A refund; `items` hold minor units: "value" (what goes back) and "asked" (what was requested, as the vendor shows it)."""

    id: int
    created: datetime
    total: int
    tax: int
    is_override: bool
    items: list[Record]
    payments: list[Payback]

    @property
    def reference(self) -> str:
        return "; ".join(dict.fromkeys(each["reason"] for each in self.items if each["reason"]))


@dataclass(slots=True)
class Quote:
    """What a refund would come to. `methods`: each a whole way to pay back; an option that goes back to a payment has it."""

    items: list[Record]
    total: int
    tax: int
    order_level: int
    adjustment: int
    methods: list[list[tuple[Record, Payment | None]]]


@dataclass(slots=True)
class Order:
    """An order. `spent`: by item type and id, what was refunded (units or minor units). `texts`: what may be written freely."""

    id: int
    address_id: int
    currency: str
    created: datetime
    modified: datetime
    email: str
    customer_id: int
    channel_id: int
    status_id: int
    base_payment_status: str
    is_tax_inclusive: bool
    shipping: int
    shipping_tax: int
    handling: int
    texts: dict[str, str | None]
    lines: list[Line] = field(default_factory=list)
    fees: dict[int, Record] = field(default_factory=dict)
    payments: list[Payment] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    transactions: list[Record] = field(default_factory=list)
    shipments: list[Record] = field(default_factory=list)
    metafields: list[Record] = field(default_factory=list)
    spent: Counter[tuple[str, int]] = field(default_factory=Counter)
    void: str = ""
    previous_status_id: int = 0
    is_deleted: bool = False

    @property
    def total(self) -> int:
        lines = sum(each.value + each.wrapping * each.quantity for each in self.lines)
        fees: int = sum(each["amount"] for each in self.fees.values())
        return lines + self.shipping + self.handling + fees

    @property
    def tax(self) -> int:
        return sum(each.tax for each in self.lines) + self.shipping_tax

    @property
    def captured(self) -> int:
        return sum(each.amount for each in self.payments if each.is_captured)

    def paid_back(self, *states: str) -> int:
        return sum(p.amount for refund in self.refunds for p in refund.payments if p.state in states)

    @property
    def payment_status(self) -> str:
        back = self.paid_back("done")
        if self.void or not back:
            return self.void or self.base_payment_status
        return "refunded" if back >= self.captured else "partially refunded"


def fail(status: int, title: str, errors: Record | None = None, *, is_wrapped: bool = False) -> NoReturn:
    """Ends the call with an error of the v3 APIs; some refusals of the refund API come inside `data`."""
    raise RefusalError(_v3_error(status, title, errors, is_wrapped=is_wrapped))


def fail_v2(status: int, message: str) -> NoReturn:
    """Ends the call with an error of the v2 API."""
    raise RefusalError(Answer(status, [{"status": status, "message": message}]))


class BigCommerce(Vendor):
    """See the module's docstring. Amounts are kept in minor units and written as the vendor does only when shown."""

    name: ClassVar[str] = "bigcommerce"

    def clear(self) -> None:
        self.hash, self.store_id = STORE_HASH, "11111"
        self.habits = Habits()
        self.inventory: Record = {
            "product_out_of_stock_behavior": "do_nothing",
            "option_out_of_stock_behavior": "do_nothing",
            "update_stock_behavior": "order_placed",
            "edit_order_stock_adjustment": True,
            "refund_order_stock_adjustment": True,
            "stock_level_display": "dont_show",
            "default_out_of_stock_message": "",
            "hide_in_product_filtering": False,
            "show_pre_order_stock_levels": False,
            "show_out_of_stock_message": False,
        }
        self.channels: dict[int, Record] = {}
        self.accounts = {TOKEN: Account(CLIENT_ID, CLIENT_SECRET, _ALL_SCOPES)}
        self.locations: dict[int, str] = {1: "Default location"}
        self.hook_headers = dict(HOOK_HEADERS)
        self.orders: dict[int, Order] = {}
        self.items: dict[int, Item] = {}
        self.hooks: dict[int, Record] = {}
        self.events: list[tuple[str, Event]] = []
        self.window_end = datetime.min.replace(tzinfo=UTC)
        self.used = 0
        self.is_seeding = False
        # The vendor's ids are ascending numbers; a new beginning each time keeps old ones from meaning something else.
        self._last_id = random.randrange(10_000, 1_000_000)
        self._routes = tuple(
            Route(method, f"/stores/{{hash}}{path}", name, getattr(self, name))
            for method, path, name, _ in _ROUTES
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        account = self.accounts.get(call.headers.get("x-auth-token", ""))
        if account is None or call.ids.get("hash", self.hash) != self.hash:
            return self.unauthorised(call)
        needed = _SCOPES.get(call.operation, ())
        if needed and not account.scopes.intersection(needed):
            return _error(call, *REFUSALS["forbidden"])
        return None

    def unauthorised(self, call: Call) -> Answer:
        return _error(call, 401, "The token in the request is not valid for this store.")

    def refuse(self, call: Call) -> Answer:
        code = (call.fault.code if call.fault else "") or _DEFAULT_REFUSALS.get(call.operation, "not_found")
        status, title = REFUSALS.get(code, (422, code))
        if call.operation == "create_refund":
            return _v3_error(status, title, {"code": code}, is_wrapped=status == 422)
        return _error(call, status, title, {"code": code})

    def not_found(self, call: Call) -> Answer:
        return _error(call, *REFUSALS["not_found"])

    def failure(self, call: Call, status: int) -> Any:
        title = {429: "Too many requests", 503: "Service unavailable"}.get(status, "Something went wrong")
        if status == 503 and call.operation in ("quote_refund", "create_refund"):
            order_id = _id(call.ids.get("id"))
            return {
                "data": [{"order_id": order_id, "status": 503, "error": "The tax service does not answer."}],
                "meta": {},
            }
        return _error(call, status, title).body

    def begin(self, call: Call) -> Answer | None:
        now = self.world.clock()
        if now >= self.window_end:
            self.window_end, self.used = now + timedelta(milliseconds=self.habits.window_ms), 0
        if self.used >= self.habits.quota:
            refused = _error(call, 429, "Too many requests")
            return replace(refused, headers=self._quota_headers())
        self.used += 1
        accepted = [each.split(";")[0].strip() for each in call.headers.get("accept", "").split(",")]
        if "application/json" not in accepted:
            return _error(call, 406, "Accept must be application/json.")
        if call.body and call.content_type != "application/json":
            return _error(call, 415, "Content-Type must be application/json.")
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:
        if call.has(Kind.STATUS) and answer.status == 429:
            # Platform load, not our quota: a 429 without the headers. A fault that means the quota brings its own.
            return answer
        return replace(answer, headers={**self._quota_headers(), **answer.headers})

    def _quota_headers(self) -> Record:
        left_ms = int((self.window_end - self.world.clock()) / timedelta(milliseconds=1))
        return {
            "X-Rate-Limit-Requests-Left": str(max(0, self.habits.quota - self.used)),
            "X-Rate-Limit-Requests-Quota": str(self.habits.quota),
            "X-Rate-Limit-Time-Window-Ms": str(self.habits.window_ms),
            "X-Rate-Limit-Time-Reset-Ms": str(max(0, left_ms)),
        }

    def _order(self, call: Call) -> Order:
        order = self.orders.get(_id(call.ids["id"]) or 0)
        if order is None:
            raise RefusalError(self.not_found(call))
        return order

    def _account(self, call: Call) -> Account:
        return self.accounts[call.headers["x-auth-token"]]

    # ------------------------------------------------------------ orders, v2

    def get_order(self, call: Call) -> Answer:
        return Answer(200, self._shown_order(self._order(call), _query(call)))

    def list_orders(self, call: Call) -> Answer:
        """Filters that the vendor does not have are not refused: they filter nothing."""
        query = _query(call)
        wants_deleted = query.get("is_deleted") == "true"
        found = [each for each in self.orders.values() if each.is_deleted == wants_deleted]
        equals: dict[str, Callable[[Order], object]] = {
            "customer_id": lambda o: str(o.customer_id),
            "email": lambda o: o.email,
            "status_id": lambda o: str(o.status_id),
            "payment_method": lambda o: o.texts["payment_method"],
            "channel_id": lambda o: str(o.channel_id),
            "external_order_id": lambda o: o.texts["external_order_id"],
        }
        bounds: dict[str, tuple[Callable[[str], Any], Callable[[Order], Any]]] = {
            "id": (_number_in_query, lambda o: o.id),
            "total": (_number_in_query, lambda o: Decimal(Money(o.total, o.currency).major)),
            "date_created": (_date_in_query, lambda o: o.created),
            "date_modified": (_date_in_query, lambda o: o.modified),
        }
        for name, text in query.items():
            if name in equals:
                found = [each for each in found if equals[name](each) == text]
            side, _, rest = name.partition("_")
            if side in ("min", "max") and rest in bounds:
                read, of = bounds[rest]
                bound = read(text)
                found = [x for x in found if (of(x) >= bound if side == "min" else of(x) <= bound)]
        key, _, direction = query.get("sort", "id:asc").partition(":")
        if key not in _SORTS or direction not in ("", "asc", "desc"):
            fail_v2(400, "The field 'sort' is invalid.")
        key = {"date_created": "created", "date_modified": "modified"}.get(key, key)
        found.sort(key=lambda o: (getattr(o, key), o.id), reverse=direction == "desc")
        return self._v2_list(call, [self._shown_order(each, query) for each in found])

    def list_order_products(self, call: Call) -> Answer:
        return self._v2_list(call, self._shown_lines(self._order(call)))

    def list_shipping_addresses(self, call: Call) -> Answer:
        return self._v2_list(call, [self._shown_address(self._order(call))])

    def list_fees(self, call: Call) -> Answer:
        return self._v2_list(call, self._shown_fees(self._order(call)))

    def list_shipments(self, call: Call) -> Answer:
        return self._v2_list(call, self._order(call).shipments)

    def _v2_list(self, call: Call, found: list[Record]) -> Answer:
        page, limit = _paging(call, is_v2=True)
        shown = found[(page - 1) * limit : page * limit]
        return Answer(200, shown) if shown else Answer(204)

    def list_order_statuses(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        labels = ("name", "system_label", "custom_label", "system_description")
        return Answer(200, [{"id": id, **dict.fromkeys(labels, name)} for id, name in enumerate(STATUSES)])

    def update_order(self, call: Call) -> Answer:
        order, body = self._order(call), _json(call)
        if not isinstance(body, dict):
            fail_v2(400, "The request body is not a JSON object.")
        status_id = body.get("status_id", order.status_id)
        if (
            isinstance(status_id, bool)
            or not isinstance(status_id, int)
            or not 0 <= status_id < len(STATUSES)
        ):
            fail_v2(400, "The field 'status_id' is invalid.")
        if "status" in body and self.habits.is_status_text_refused:
            fail_v2(400, "The field 'status' cannot be written to.")
        for name in _WRITABLE_TEXTS:
            if not isinstance(body.get(name), str | None):
                fail_v2(400, f"The field '{name}' is invalid.")
        for name in ("products", "fees"):
            each = body.get(name, [])
            if not isinstance(each, list) or not all(isinstance(x, dict) for x in each):
                fail_v2(400, f"The field '{name}' is invalid.")
        fees = [self._read_fee(order, each) for each in body.get("fees", [])]
        order.texts.update({name: body[name] for name in _WRITABLE_TEXTS if name in body})
        for each in body.get("products", []):
            self._edit_line(order, each)
        if "fees" in body:
            order.fees = {each["id"]: each for each in fees}
        if body.get("is_deleted") is True:
            self._archive(order)
        self._set_status(order, status_id, by="api", reference=body.get("staff_notes"))
        return Answer(200, self._shown_order(order, {}))

    def _read_fee(self, order: Order, body: Record) -> Record:
        known = order.fees.get(_id(body.get("id")) or 0)
        if "cost_inc_tax" in body:
            try:
                amount = Money.from_major(Decimal(str(body["cost_inc_tax"])), order.currency).minor
            except (ArithmeticError, ValueError):
                fail_v2(400, "The field 'cost_inc_tax' is invalid.")
        elif known is None:
            fail_v2(400, "The field 'cost_inc_tax' is missing.")
        else:
            amount = known["amount"]
        name = body.get("display_name_customer", known["name"] if known else "Fee")
        return {"id": known["id"] if known else self._fresh(), "name": name, "amount": amount}

    def _edit_line(self, order: Order, body: Record) -> None:
        """An update of a line takes its discounts away, whatever else it says; without units the line is removed."""
        for line in [each for each in order.lines if each.id == body.get("id")]:
            line.discount = 0
            if isinstance(body.get("quantity"), int):
                line.quantity = body["quantity"]
            if line.quantity <= 0:
                order.lines.remove(line)

    def archive_order(self, call: Call) -> Answer:
        self._archive(self._order(call))
        return Answer(204)

    def _archive(self, order: Order) -> None:
        if order.is_deleted:
            return
        order.is_deleted = True
        self._touch(order)
        self._write("archive_order", id=str(order.id), target={"order": str(order.id)})
        self._tell("store/order/archived", {"type": "order", "id": order.id})

    def _set_status(self, order: Order, status_id: int, *, by: str, reference: str | None) -> None:
        """No move is forbidden; a status that it has already is no change, yet the order counts as modified."""
        before = order.status_id
        self._touch(order)
        if before != status_id:
            order.previous_status_id, order.status_id = before, status_id
            if status_id == CANCELLED:
                target = {"order": str(order.id), "number": str(order.id)}
                self._write("cancel_order", id=str(order.id), target=target, reference=reference, by=by)
                self._return_stock(order, "cancel", by, reference)
            self._tell("store/order/statusUpdated", _status_data(order))
        self._tell("store/order/updated", {"type": "order", "id": order.id})

    def _return_stock(self, order: Order, on: str, by: str, reference: str | None) -> None:
        """What the setting does by itself: all units that the order took, shipped ones too, and each only once."""
        channel = self.channels.get(order.channel_id, {}).get("refund_order_stock_adjustment")
        is_on = self.inventory["refund_order_stock_adjustment"] if channel is None else channel
        if not is_on or (by == "api" and on not in self.habits.api_adjusts_stock_on) or self.is_seeding:
            return
        for line in order.lines:
            units = line.taken - line.returned
            if line.item.tracking == "none" or units <= 0:
                continue
            line.returned += units
            line.item.levels[line.location] = line.item.levels.get(line.location, 0) + units
            self._write(
                "restock",
                id=str(line.id),
                target={"order": str(order.id)},
                reference=reference,
                sku=line.item.sku,
                quantity=units,
                by="setting",
            )
            self._tell_stock(line.item, line.location)

    # ------------------------------------------------------------ refunds and void, v3

    def quote_refund(self, call: Call) -> Answer:
        order = self._order(call)
        quote = self._quote(order, _object(call))
        money = order.currency
        data = {
            "order_id": order.id,
            "total_refund_amount": _number(quote.total, money),
            "total_refund_tax_amount": _number(quote.tax, money),
            "order_level_refund_amount": _number(quote.order_level, money),
            "rounding": 0,
            "adjustment": _number(quote.adjustment, money),
            "tax_inclusive": order.is_tax_inclusive,
            "refund_methods": [
                [{**option, "amount": _number(option["amount"], money)} for option, _ in method]
                for method in quote.methods
            ],
        }
        return Answer(201, {"data": data, "meta": {}})

    def create_refund(self, call: Call) -> Answer:
        order, body = self._order(call), _object(call)
        quote = self._quote(order, body)
        chosen = self._chosen(order, quote, body.get("payments"))
        refund = self._accept(order, quote, chosen, "merchant_calculated_override" in body)
        # Said before the gateway has acted: no transaction is known yet.
        answer = Answer(201, {"data": self._shown_refund(order, refund), "meta": {}})
        self._carry_out(order, refund, "api", is_held=call.has(Kind.SLOW_PENDING))
        if call.has(Kind.LATE_FAILURE) and not all(each.is_offline for each in chosen):
            self.late.append(lambda: self.settle({"refund": refund.id, "status": "declined"}))
        return answer

    def _quote(self, order: Order, body: Record) -> Quote:
        if not order.captured:
            fail(*REFUSALS["not_settled"])
        if "tax_adjustment_amount" in body:
            fail(422, "No tax was overcharged on this order.", {"tax_adjustment_amount": "is not 0"})
        asked = body.get("items")
        if not isinstance(asked, list) or not asked:
            fail(422, "The request is not valid.", {"items": "is required and not empty"})
        spent: Counter[tuple[str, int]] = Counter(order.spent)
        items = [self._read_item(order, spent, n, each) for n, each in enumerate(asked)]
        wanted, tax = sum(each["value"] for each in items), sum(each["tax"] for each in items)
        left = order.captured - order.paid_back("pending", "done")
        override = body.get("merchant_calculated_override")
        if override is not None:
            if not isinstance(override, dict) or not {"total_amount", "total_tax"} <= override.keys():
                fail(
                    422, "The request is not valid.", {"merchant_calculated_override": "needs amount and tax"}
                )
            total = _amount(override["total_amount"], order.currency, "merchant_calculated_override")
            tax = _amount(override["total_tax"], order.currency, "merchant_calculated_override")
            if total > left:
                fail(422, "More than is left to refund.", {"merchant_calculated_override": "is too large"})
        else:
            total = min(wanted, left)
        if total <= 0:
            fail(*REFUSALS["already_refunded"])
        lump = sum(each["value"] for each in items if each["item_type"] == "ORDER")
        adjustment = 0 if override is not None else total - wanted
        return Quote(items, total, tax, lump, adjustment, self._methods(order, total))

    def _read_item(self, order: Order, spent: Counter[tuple[str, int]], n: int, asked: Any) -> Record:
        """One item with its worth, against what is left of it after those before; `spent` is moved on."""

        def wrong(name: str, why: str) -> NoReturn:
            fail(422, "The request is not valid.", {f"items.{n}.{name}": why})

        if not isinstance(asked, dict):
            wrong("", "is not an object")
        kind, id, reason = asked.get("item_type"), asked.get("item_id"), asked.get("reason", "")
        if kind not in (*_BY_QUANTITY, *_BY_AMOUNT):
            wrong("item_type", "is unknown")
        if isinstance(id, bool) or not isinstance(id, int):
            wrong("item_id", "is not a number")
        if not isinstance(reason, str) or len(reason) > 1000:
            wrong("reason", "has at most 1000 characters")
        item: Record = {"item_type": kind, "item_id": id, "reason": reason, "adjustments": []}
        before = spent[kind, id]
        if kind in _BY_QUANTITY:
            line = next((each for each in order.lines if each.id == id), None)
            units = asked.get("quantity")
            if line is None:
                wrong("item_id", "is not a product of this order")
            if isinstance(units, bool) or not isinstance(units, int) or units < 1:
                wrong("quantity", "is not a number from 1 on")
            if before + units > line.quantity:
                wrong("quantity", f"is more than the {line.quantity - before} left to refund")
            spent[kind, id] += units
            item |= {"quantity": units, "value": line.wrapping * units, "tax": 0}
            if kind == "PRODUCT":
                item["value"] = _share(line.value, before, units, line.quantity)
                item["tax"] = _share(line.tax, before, units, line.quantity)
                item["adjustments"] = self._deductions(order, asked.get("adjustments", []), wrong)
                item["value"] += sum(each["amount"] for each in item["adjustments"])
                if item["value"] < 0:
                    wrong("adjustments", "take more than the item is worth")
            return item | {"asked": item["value"] - (0 if order.is_tax_inclusive else item["tax"])}
        amount = _amount(asked.get("amount"), order.currency, f"items.{n}.amount")
        belongs, base, tax = self._worth(order, kind, id)
        if not belongs:
            wrong("item_id", "is not of this order")
        if amount < 1:
            wrong("amount", "is not positive")
        if base is not None and before + amount > base:
            left = Money(base - before, order.currency)
            wrong("amount", f"is more than the {left.major} left to refund")
        spent[kind, id] += amount
        part = _share(tax, before, amount, base) if base else 0
        value = amount if order.is_tax_inclusive else amount + part
        return item | {"value": value, "asked": amount, "amount": amount, "tax": part}

    def _deductions(self, order: Order, asked: Any, wrong: Callable[[str, str], NoReturn]) -> list[Record]:
        if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
            wrong("adjustments", "is not a list of objects")
        found = []
        for each in asked:
            amount, text = each.get("amount"), each.get("description", "")
            if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or amount > 0:
                wrong("adjustments", "is not a negative amount")
            if not isinstance(text, str) or len(text) > 255:
                wrong("adjustments", "has a description of at most 255 characters")
            minor = -_amount(-amount, order.currency, "adjustments")
            found.append({"amount": minor, "description": text})
        return found

    def _worth(self, order: Order, kind: str, id: int) -> tuple[bool, int | None, int]:
        """Whether the id is right for the type, what may be refunded of it in all (None: no limit), and its tax."""
        match kind:
            case "SHIPPING":
                base = order.shipping - (0 if order.is_tax_inclusive else order.shipping_tax)
                return id == order.address_id, base, order.shipping_tax
            case "HANDLING":
                return id == order.address_id, order.handling, 0
            case "TAX":
                return id == order.address_id, order.tax, 0
            case "FEE":
                return id in order.fees, order.fees.get(id, {"amount": 0})["amount"], 0
            case _:
                return id == order.id, None, 0

    def _methods(self, order: Order, total: int) -> list[list[tuple[Record, Payment | None]]]:
        """In the vendor's order: all to store credit, all by other means, and last what mirrors the payments."""
        captured = [each for each in order.payments if each.is_captured]
        parts = allocate(total, [each.amount - each.returned for each in captured])
        mirror: list[tuple[Record, Payment | None]] = []
        for payment, part in zip(captured, parts, strict=True):
            if not part:
                continue
            why = ""
            if payment.is_offline:
                why = "This provider works offline."
            elif not payment.can_refund:
                why = "This provider does not support refunds."
            elif part < payment.amount and not payment.can_refund_part:
                why = "This provider does not support partial refunds."
            mirror.append((_option(payment.gateway, part, why), payment))
        credit = _option("storecredit", total)
        methods: list[list[tuple[Record, Payment | None]]] = []
        if order.customer_id and [option for option, _ in mirror] != [credit]:
            methods.append([(credit, None)])
        methods.append([(_option("custom", total, "This provider works offline."), None)])
        methods.append(mirror)
        return methods

    def _chosen(self, order: Order, quote: Quote, asked: Any) -> list[Payback]:
        if not isinstance(asked, list) or not asked or not all(isinstance(each, dict) for each in asked):
            fail(422, "The request is not valid.", {"payments": "is required and not empty"})
        payments = []
        for n, each in enumerate(asked):
            offline = each.get("offline", False)
            if not isinstance(each.get("provider_id"), str) or not isinstance(offline, bool):
                fail(422, "The request is not valid.", {f"payments.{n}": "needs provider_id and amount"})
            amount = _amount(each.get("amount"), order.currency, f"payments.{n}.amount")
            payments.append((each["provider_id"], amount, offline))
        payments.sort()
        for method in quote.methods:
            options = sorted(method, key=lambda pair: (pair[0]["provider_id"], pair[0]["amount"]))
            named = [(option["provider_id"], option["amount"]) for option, _ in options]
            if named != [(provider, amount) for provider, amount, _ in payments]:
                continue
            chosen = []
            for (option, to), (provider, amount, offline) in zip(options, payments, strict=True):
                if option["offline"] and not offline:
                    fail(422, f"{provider} can only be refunded offline.", {"payments": "offline"})
                if to is not None and not offline and not to.is_settled:
                    fail(*REFUSALS["not_settled"], is_wrapped=True)
                chosen.append(Payback(self._fresh(), provider, amount, offline, to))
            return chosen
        if not order.customer_id and any(provider == "storecredit" for provider, _, _ in payments):
            fail(*REFUSALS["guest_store_credit"], is_wrapped=True)
        if sum(amount for _, amount, _ in payments) != quote.total:
            fail(*REFUSALS["amount_mismatch"], is_wrapped=True)
        fail(422, "The payments are none of the ways that a quote offers.", is_wrapped=True)

    def _accept(self, order: Order, quote: Quote, chosen: list[Payback], is_override: bool = False) -> Refund:
        """The refund is known and its amounts are taken; nothing has been sent."""
        created = self._now()
        refund = Refund(self._fresh(), created, quote.total, quote.tax, is_override, quote.items, chosen)
        for each in quote.items:
            order.spent[each["item_type"], each["item_id"]] += _taken_by(each)
        for payback in chosen:
            if payback.to is not None:
                payback.to.returned += payback.amount
        order.refunds.append(refund)
        return refund

    def _carry_out(self, order: Order, refund: Refund, by: str, *, is_held: bool = False) -> None:
        """The gateway acts (unless held), and the order's status is overwritten, whatever it was."""
        data = {"type": "order", "id": order.id, "refund": {"refund_id": refund.id}}
        self._tell("store/order/refund/created", data)
        for payback in refund.payments:
            if payback.is_offline or not is_held:
                self._pay(order, refund, payback, by)
        is_all = order.paid_back("pending", "done") >= order.captured
        status = REFUNDED if is_all else PARTIALLY_REFUNDED
        if order.status_id == CANCELLED and not self.habits.is_cancelled_overwritten:
            status = CANCELLED
        self._set_status(order, status, by=by, reference=refund.reference)
        if is_all:
            self._return_stock(order, "refund", by, refund.reference)

    def _pay(self, order: Order, refund: Refund, payback: Payback, by: str) -> None:
        payback.state, effect = "done", "record_refund"
        if not payback.is_offline:
            effect = "refund"
            payback.transaction = str(self._transaction(order, "refund", payback)["id"])
        self._write_payback(effect, order, refund, payback, by)

    def _decline(self, order: Order, refund: Refund, payback: Payback, message: str) -> None:
        """The money did not move, or came back. The order's status stays what the refund made it."""
        effect = "refund_failed" if payback.state == "done" else "refund_declined"
        payback.state, payback.message = "declined", message
        self._transaction(order, "refund", payback, status="error")
        if payback.to is not None:
            payback.to.returned -= payback.amount
        if all(each.state == "declined" for each in refund.payments):
            for each in refund.items:
                order.spent[each["item_type"], each["item_id"]] -= _taken_by(each)
        self._write_payback(effect, order, refund, payback, "gateway")
        self._touch(order)
        self._tell("store/order/updated", {"type": "order", "id": order.id})

    def _write_payback(self, effect: str, order: Order, refund: Refund, payback: Payback, by: str) -> None:
        target = {
            "payment": str(payback.id),
            "provider": payback.provider,
            "transaction": payback.to.reference if payback.to is not None else "",
        }
        self._write_money(effect, order, refund.id, payback.amount, target, reference=refund.reference, by=by)

    def list_order_refunds(self, call: Call) -> Answer:
        order, wanted = self._order(call), _query(call).get("transaction_id")
        found = [each for each in order.refunds if wanted in (None, *(p.transaction for p in each.payments))]
        return Answer(200, {"data": [self._shown_refund(order, each) for each in found], "meta": {}})

    def list_refunds(self, call: Call) -> Answer:
        query = _query(call)
        pairs = sorted(
            ((order, each) for order in self.orders.values() for each in order.refunds), key=lambda x: x[1].id
        )
        for n, name in enumerate(("order_id:in", "id:in")):
            if name in query:
                pairs = [pair for pair in pairs if str(pair[n].id) in query[name].split(",")]
        if "transaction_id" in query:
            pairs = [x for x in pairs if query["transaction_id"] in [p.transaction for p in x[1].payments]]
        for name in ("created:min", "created:max"):
            if name in query:
                bound = _date(query[name]) or fail(422, "The request is not valid.", {name: "is not a date"})
                is_min = name.endswith("min")
                pairs = [p for p in pairs if (p[1].created >= bound if is_min else p[1].created <= bound)]
        page, limit = _paging(call)
        shown = [self._shown_refund(order, each) for order, each in pairs[(page - 1) * limit : page * limit]]
        return Answer(200, {"data": shown, "meta": {}})

    def get_refund(self, call: Call) -> Answer:
        """Alone, a refund shows amounts of items as text, no deductions and no transactions: so it is described."""
        order, refund = self._refund_of(_id(call.ids["id"])) or fail(*REFUSALS["not_found"])
        shown = self._shown_refund(order, refund)
        for item, each in zip(shown["items"], refund.items, strict=True):
            item["requested_amount"] = Money(each["asked"], order.currency).major
            del item["adjustments"]
        for payment in shown["payments"]:
            del payment["transaction_id"]
        return Answer(200, {"data": shown, "meta": {}})

    def _refund_of(self, id: Any) -> tuple[Order, Refund] | None:
        return next(((o, r) for o in self.orders.values() for r in o.refunds if r.id == id), None)

    def void_payment(self, call: Call) -> Answer:
        order = self._order(call)
        if order.payment_status != "authorized":
            fail(*REFUSALS["not_authorized"])
        order.void = "void pending"
        self._touch(order)
        if not call.has(Kind.SLOW_PENDING):
            self._void(order)
        if call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self.settle({"order": order.id, "void": "failed"}))
        return Answer(201, {})

    def _void(self, order: Order) -> None:
        order.void = "void"
        for payment in order.payments:
            if payment.is_captured:
                continue
            id = self._transaction(order, "void", payment)["id"]
            self._write_money("void", order, id, payment.amount, {"transaction": payment.reference})
        self._tell("store/order/updated", {"type": "order", "id": order.id})

    def list_transactions(self, call: Call) -> Answer:
        found = list(self._order(call).transactions)
        if not found:
            return Answer(204)
        return Answer(200, {"data": found, "meta": _meta(len(found), 1, max(50, len(found)))})

    def _transaction(
        self, order: Order, event: str, about: Payment | Payback, *, status: str = "ok"
    ) -> Record:
        if isinstance(about, Payback):
            gateway, origin, reference = about.provider, about.to, self.mint("re_")
        else:
            is_first = event in ("purchase", "authorization")
            gateway, origin, reference = about.gateway, None if is_first else about, about.reference
        id = about.transaction if isinstance(about, Payment) and origin is None else self._fresh()
        method = _METHODS.get(gateway, "credit_card")
        made: Record = {
            "id": id,
            "order_id": str(order.id),
            "event": event,
            "method": method,
            "amount": _number(about.amount, order.currency),
            "currency": order.currency,
            "gateway": gateway,
            "gateway_transaction_id": reference,
            "date_created": self._now().isoformat(),
            "test": gateway == "testgateway",
            "status": status,
            "fraud_review": False,
            **({"reference_transaction_id": origin.transaction} if origin is not None else {}),
            "payment_method_id": f"{gateway}.{method}",
            **dict.fromkeys(("offline", "custom", "gift_certificate", "store_credit")),
        }
        order.transactions.append(made)
        data = {
            "type": "order_transaction",
            "order_id": str(order.id),
            "transaction_id": str(made["id"]),
            "transaction_type": event,
            "transaction_status": status,
            "provider_transaction_id": reference,
        }
        self._tell("store/order/transaction/created", data)
        return made

    # ------------------------------------------------------------ metafields

    def create_metafield(self, call: Call) -> Answer:
        order, body, owner = self._order(call), _object(call), self._account(call).client_id
        limits = {"namespace": 64, "key": 64, "value": 65535}
        wrong = {
            name: f"has 1 to {most} characters"
            for name, most in limits.items()
            if not isinstance(body.get(name), str) or not 1 <= len(body[name]) <= most
        }
        if body.get("permission_set") not in _PERMISSIONS:
            wrong["permission_set"] = f"is one of {', '.join(_PERMISSIONS)}"
        if not isinstance(body.get("description", ""), str) or len(body.get("description", "")) > 255:
            wrong["description"] = "has at most 255 characters"
        if wrong:
            fail(422, "The metafield is not valid.", wrong)
        mine = [each for each in order.metafields if each["owner_client_id"] == owner]
        if any((each["namespace"], each["key"]) == (body["namespace"], body["key"]) for each in mine):
            fail(*REFUSALS["conflict"], {"key": "is taken"})
        if len(mine) >= 250:
            fail(422, "An app has at most 250 metafields on an order.", {"metafields": "too many"})
        now = self._now().isoformat()
        made: Record = {
            "id": self._fresh(),
            **{name: body[name] for name in ("permission_set", "namespace", "key", "value")},
            "description": body.get("description", ""),
            "resource_type": "order",
            "resource_id": order.id,
            "date_created": now,
            "date_modified": now,
            "owner_client_id": owner,
        }
        order.metafields.append(made)
        return Answer(200, {"data": made, "meta": {}})

    def list_metafields(self, call: Call) -> Answer:
        """What is `app_only` is seen by its owner alone."""
        order, query, owner = self._order(call), _query(call), self._account(call).client_id
        found = [
            each
            for each in order.metafields
            if owner == each["owner_client_id"] or each["permission_set"] != "app_only"
        ]
        for name in ("key", "namespace"):
            wanted = {query[name]} if name in query else set()
            wanted |= set(query.get(f"{name}:in", "").split(",")) - {""}
            found = [each for each in found if not wanted or each[name] in wanted]
        if query.get("direction") == "desc":
            found.reverse()
        return self._v3_list(call, found)

    def _v3_list(self, call: Call, found: list[Record], most: int = 250) -> Answer:
        page, limit = _paging(call, most=most)
        shown = found[(page - 1) * limit : page * limit]
        return Answer(200, {"data": shown, "meta": _meta(len(found), page, limit, len(shown))})

    # ------------------------------------------------------------ inventory

    def adjust_inventory(self, call: Call) -> Answer:
        body = _object(call)
        asked, reason = body.get("items"), body.get("reason", "")
        if not isinstance(asked, list) or not 1 <= len(asked) <= 2000 or not isinstance(reason, str):
            self._unfit({"items": "has 1 to 2000 entries"})
        # All are read before one is moved: a mistake in the last leaves nothing behind.
        moves = [self._read_move(n, each) for n, each in enumerate(asked)]
        after: Counter[tuple[int, int]] = Counter()
        for item, location, quantity in moves:
            after[item.variant_id, location] += quantity
        for (variant, location), quantity in after.items():
            if self.items[variant].levels.get(location, 0) + quantity < 0:
                self._unfit({"quantity": f"would leave less than nothing of variant {variant}"})
        id = str(uuid.uuid4())
        for item, location, quantity in moves:
            item.levels[location] = item.levels.get(location, 0) + quantity
            if quantity:
                self._write(
                    "restock" if quantity > 0 else "reduce_stock",
                    id=id,
                    target={"location": str(location)},
                    reference=reason,
                    sku=item.sku,
                    quantity=abs(quantity),
                    by="api",
                )
        return Answer(200, {"transaction_id": id})

    def _read_move(self, n: int, asked: Any) -> tuple[Item, int, int]:
        if not isinstance(asked, dict):
            self._unfit({f"items.{n}": "is not an object"})
        for name in ("location_id", "quantity"):
            if isinstance(asked.get(name), bool) or not isinstance(asked.get(name), int):
                self._unfit({f"items.{n}.{name}": "is not a number"})
        named = [name for name in ("sku", "variant_id", "product_id") if name in asked]
        if len(named) != 1:
            self._unfit({f"items.{n}": "needs one of sku, variant_id and product_id"})
        if asked["location_id"] not in self.locations:
            self._unfit({f"items.{n}.location_id": "is unknown"})
        found = [each for each in self.items.values() if getattr(each, named[0]) == asked[named[0]]]
        if not found or asked[named[0]] == "":
            self._unfit({f"items.{n}.{named[0]}": "is unknown"})
        item = found[0]
        if item.tracking == "none" or (named[0] == "product_id" and item.tracking != "product"):
            self._unfit({f"items.{n}.{named[0]}": "is not how this product's stock is tracked"})
        return item, asked["location_id"], asked["quantity"]

    def _unfit(self, errors: Record) -> NoReturn:
        refused = _v3_error(422, "The adjustment was not valid.", errors)
        raise RefusalError(replace(refused, content_type="application/problem+json"))

    def list_inventory(self, call: Call) -> Answer:
        wanted = _query(call).get("location_id:in")
        places = {id: n for id, n in self.locations.items() if wanted is None or str(id) in wanted.split(",")}
        shown = [
            {
                "identity": _identity(item),
                "locations": [
                    {"location_id": id, "location_name": name, "location_enabled": True, **_levels(item, id)}
                    for id, name in places.items()
                ],
            }
            for item in self._items(call)
        ]
        return self._v3_list(call, shown, 1000)

    def list_location_inventory(self, call: Call) -> Answer:
        location = _id(call.ids["location"]) or 0
        if location not in self.locations:
            return replace(_v3_error(*REFUSALS["not_found"]), content_type="application/problem+json")
        found = [{"identity": _identity(item), **_levels(item, location)} for item in self._items(call)]
        return self._v3_list(call, found, 1000)

    def _items(self, call: Call) -> list[Item]:
        """Only what is tracked is an inventory item."""
        query, found = _query(call), [each for each in self.items.values() if each.tracking != "none"]
        for name in ("sku", "variant_id", "product_id"):
            if (wanted := query.get(f"{name}:in")) is not None:
                found = [each for each in found if str(getattr(each, name)) in wanted.split(",")]
        return found

    def get_inventory_settings(self, call: Call) -> Answer:
        """For a channel only what it overrides is told; null means that the store's setting counts."""
        channel = _query(call).get("channel_id")
        if channel is None:
            return Answer(200, {"data": dict(self.inventory), "meta": {}})
        own = self.channels.get(_id(channel) or 0, {})
        return Answer(200, {"data": {name: own.get(name) for name in self.inventory}, "meta": {}})

    # ------------------------------------------------------------ hooks

    def create_hook(self, call: Call) -> Answer:
        body = _object(call)
        if not {"scope", "destination"} <= body.keys():
            fail(422, "The webhook is not valid.", {"scope": "and destination are required"})
        now = int(self.world.clock().timestamp())
        made: Record = {
            "id": self._fresh(),
            "client_id": self._account(call).client_id,
            "store_hash": self.hash,
            "scope": "",
            "destination": "",
            "is_active": True,
            "headers": None,
            "created_at": now,
            "updated_at": now,
        }
        self.hooks[made["id"]] = self._write_hook(made, body)
        return Answer(200, {"data": self.hooks[made["id"]], "meta": {}})

    def _write_hook(self, hook: Record, body: Record) -> Record:
        hook = {**hook, **{name: body[name] for name in _HOOK_FIELDS if name in body}}
        scope, url, headers = hook["scope"], hook["destination"], hook["headers"]
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        wrong = {}
        if not isinstance(scope, str) or not any(fnmatchcase(topic, scope) for topic in _TOPICS):
            wrong["scope"] = "is unknown"
        if (
            parts.scheme != "https"
            or not parts.hostname
            or parts.netloc.rpartition(":")[2] not in (parts.netloc, "443")
        ):
            wrong["destination"] = "is an https URL on port 443"
        if not isinstance(hook["is_active"], bool):
            wrong["is_active"] = "is true or false"
        if headers is not None and not (
            isinstance(headers, dict) and all(isinstance(each, str) for each in headers.values())
        ):
            wrong["headers"] = "is an object of texts"
        if wrong:
            fail(422, "The webhook is not valid.", wrong)
        return hook

    def update_hook(self, call: Call) -> Answer:
        hook, body = self._hook(call), _object(call)
        changed = self._write_hook(hook, body)
        changed["updated_at"] = int(self.world.clock().timestamp())
        self.hooks[hook["id"]] = changed
        return Answer(200, {"data": changed, "meta": {}})

    def get_hook(self, call: Call) -> Answer:
        return Answer(200, {"data": self._hook(call), "meta": {}})

    def list_hooks(self, call: Call) -> Answer:
        query, owner = _query(call), self._account(call).client_id
        found = [
            each
            for each in self.hooks.values()
            if each["client_id"] == owner
            and query.get("scope") in (None, each["scope"])
            and query.get("destination") in (None, each["destination"])
            and query.get("is_active") in (None, json.dumps(each["is_active"]))
        ]
        return self._v3_list(call, found)

    def _hook(self, call: Call) -> Record:
        hook = self.hooks.get(_id(call.ids["id"]) or 0)
        if hook is None or hook["client_id"] != self._account(call).client_id:
            fail(*REFUSALS["not_found"])
        return hook

    # ------------------------------------------------------------ what is shown

    def _shown_order(self, order: Order, query: Mapping[str, str]) -> Record:
        def linked(name: str) -> Record:
            path = f"/orders/{order.id}/{name}"
            return {"url": f"https://api.bigcommerce.com/stores/{self.hash}/v2{path}", "resource": path}

        credit = {
            name: _fixed(sum(x.amount for x in order.payments if x.gateway == name), order.currency)
            for name in ("storecredit", "giftcertificate")
        }
        gateway = next((each for each in order.payments if each.gateway not in credit), None)
        lines, lines_tax = sum(x.unit * x.quantity for x in order.lines), sum(x.tax for x in order.lines)
        shipped, units = sum(x.shipped for x in order.lines), sum(x.quantity for x in order.lines)
        has_fees = "fees" in query.get("include", "").split(",")
        return {
            "id": order.id,
            "customer_id": order.customer_id,
            "channel_id": order.channel_id,
            "date_created": format_datetime(order.created),
            "date_modified": format_datetime(order.modified),
            "date_shipped": format_datetime(order.modified) if shipped >= units else "",
            "status_id": order.status_id,
            "status": STATUSES[order.status_id],
            "payment_status": order.payment_status,
            "payment_provider_id": gateway.reference if gateway is not None else "",
            **order.texts,
            **_costs("subtotal", lines, lines_tax, order.currency),
            **_costs("shipping_cost", order.shipping, order.shipping_tax, order.currency),
            **_costs("handling_cost", order.handling, 0, order.currency),
            **_costs("wrapping_cost", sum(x.wrapping * x.quantity for x in order.lines), 0, order.currency),
            **_costs("total", order.total, order.tax, order.currency),
            "discount_amount": _fixed(sum(each.discount for each in order.lines), order.currency),
            "coupon_discount": _fixed(0, order.currency),
            "store_credit_amount": credit["storecredit"],
            "gift_certificate_amount": credit["giftcertificate"],
            # Documented as always 0: what was refunded is known from the refunds alone.
            "refunded_amount": _fixed(0, order.currency),
            "is_tax_inclusive_pricing": order.is_tax_inclusive,
            **dict.fromkeys(
                ("currency_code", "default_currency_code", "store_default_currency_code"), order.currency
            ),
            "items_total": units,
            "items_shipped": shipped,
            "order_is_digital": all(each.type == "digital" for each in order.lines),
            "is_deleted": order.is_deleted,
            "order_source": "www",
            "billing_address": {**_ADDRESS, "email": order.email},
            "shipping_address_count": 1,
            **{name: linked(name) for name in ("products", "shipping_addresses", "coupons")},
            "fees": self._shown_fees(order) if has_fees else linked("fees"),
        }

    def _shown_lines(self, order: Order) -> list[Record]:
        shown = []
        for line in order.lines:
            refunded, money = order.spent["PRODUCT", line.id], order.currency
            base = line.unit - (0 if order.is_tax_inclusive else line.unit_tax)
            discount = {"id": "manual-discount", "name": "Manual Discount", "code": None, "target": "order"}
            shown.append(
                {
                    "id": line.id,
                    "order_id": order.id,
                    "product_id": line.item.product_id,
                    "variant_id": line.item.variant_id,
                    "order_address_id": order.address_id,
                    "order_pickup_method_id": 0,
                    **dict.fromkeys(("name", "name_customer", "name_merchant"), line.title),
                    "sku": line.item.sku,
                    "type": line.type,
                    "base_price": _fixed(base, money),
                    "base_total": _fixed(base * line.quantity, money),
                    **_costs("price", line.unit, line.unit_tax, money),
                    **_costs("total", line.unit * line.quantity, line.tax, money),
                    "discounted_total_inc_tax": _fixed(line.value, money),
                    "applied_discounts": [{**discount, "amount": _fixed(line.discount, money)}]
                    if line.discount
                    else [],
                    **_costs("wrapping_cost", line.wrapping, 0, money),
                    "quantity": line.quantity,
                    "quantity_shipped": line.shipped,
                    "quantity_refunded": refunded,
                    "is_refunded": refunded >= line.quantity,
                    "refund_amount": _fixed(0, money),
                    "product_options": [],
                }
            )
        return shown

    def _shown_fees(self, order: Order) -> list[Record]:
        return [
            {
                "id": each["id"],
                "type": "custom_fee",
                **dict.fromkeys(("display_name_customer", "display_name_merchant"), each["name"]),
                "source": "practice",
                "base_cost": _fixed(each["amount"], order.currency),
                **_costs("cost", each["amount"], 0, order.currency),
                "tax_class_id": None,
            }
            for each in order.fees.values()
        ]

    def _shown_address(self, order: Order) -> Record:
        return {
            **_ADDRESS,
            "email": order.email,
            "id": order.address_id,
            "order_id": order.id,
            "items_total": sum(each.quantity for each in order.lines),
            "items_shipped": sum(each.shipped for each in order.lines),
            "shipping_method": "Flat Rate",
            **_costs("cost", order.shipping, order.shipping_tax, order.currency),
            **_costs("handling_cost", order.handling, 0, order.currency),
        }

    def _shown_refund(self, order: Order, refund: Refund) -> Record:
        money = order.currency
        items = [
            {
                **{name: each[name] for name in ("item_type", "item_id", "reason")},
                "requested_amount": _number(each["asked"], money),
                **({"quantity": each["quantity"]} if "quantity" in each else {}),
                "adjustments": [{**x, "amount": _number(x["amount"], money)} for x in each["adjustments"]],
            }
            for each in refund.items
        ]
        payments = [
            {
                "id": each.id,
                "provider_id": each.provider,
                "amount": _number(each.amount, money),
                "offline": each.is_offline,
                "is_declined": each.state == "declined",
                "declined_message": each.message,
                "transaction_id": each.transaction,
            }
            for each in refund.payments
        ]
        return {
            "id": refund.id,
            "order_id": order.id,
            "user_id": 0,
            "created": refund.created.isoformat(),
            "reason": "",
            "total_amount": _number(refund.total, money),
            "total_tax": _number(refund.tax, money),
            "uses_merchant_override_values": refund.is_override,
            "items": items,
            "payments": payments,
        }

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        known = (
            "store",
            "accounts",
            "habits",
            "inventory",
            "channels",
            "locations",
            "hook_headers",
            "orders",
        )
        if strange := sorted(set(data) - set(known)):
            raise ValueError(f"no such thing to seed: {', '.join(strange)}; there are {', '.join(known)}")
        self.is_seeding = True
        try:
            self._seed_store(data)
            orders = [self._seed_order(each) for each in data.get("orders", [])]
        except RefusalError as refused:
            raise ValueError(f"the practice store refused: {refused.answer.body}") from refused
        finally:
            self.is_seeding = False
        return {
            "store": {"hash": self.hash, "store_id": self.store_id},
            "accounts": [
                {"token": token, "client_id": each.client_id} for token, each in self.accounts.items()
            ],
            "orders": orders,
        }

    def _seed_store(self, data: Record) -> None:
        store = data.get("store", {})
        self.hash, self.store_id = store.get("hash", self.hash), str(store.get("store_id", self.store_id))
        for each in data.get("accounts", []):
            self.accounts[each["token"]] = Account(
                each.get("client_id", f"client-of-{each['token']}"),
                each.get("client_secret", f"secret-of-{each['token']}"),
                frozenset(each.get("scopes", _ALL_SCOPES)),
            )
        habits = data.get("habits", {})
        if strange := sorted(set(habits) - {each.name for each in fields(Habits)}):
            raise ValueError(f"no such habit: {', '.join(strange)}")
        habits = {name: tuple(value) if isinstance(value, list) else value for name, value in habits.items()}
        self.habits = replace(self.habits, **habits)
        channels = {int(id): each for id, each in data.get("channels", {}).items()}
        for settings in (data.get("inventory", {}), *channels.values()):
            if strange := sorted(set(settings) - set(self.inventory)):
                raise ValueError(f"no such inventory setting: {', '.join(strange)}")
        self.inventory |= data.get("inventory", {})
        self.channels |= channels
        for each in data.get("locations", []):
            self.locations[int(each["id"])] = str(each.get("name", f"Location {each['id']}"))
        self.hook_headers = dict(data.get("hook_headers", self.hook_headers))

    def _seed_order(self, described: Record) -> Record:
        currency = str(described.get("currency", "EUR")).upper()
        if not described.get("lines") or exponent_of(currency) > 2:
            raise ValueError("an order needs lines, and a currency of at most two decimals")
        named = described.get("id", described.get("number"))
        id = self._fresh() if named is None else _id(named)
        if id is None or str(described.get("number", id)) != str(id):
            raise ValueError("an order's number is its id, a whole number")
        created = _date(str(described.get("created", ""))) or self._now()
        shipping = described.get("shipping_minor", 0)
        order = Order(
            id=id,
            address_id=self._fresh(),
            currency=currency,
            created=created,
            modified=_date(str(described.get("modified", ""))) or created,
            email=described.get("email", "customer@example.com"),
            customer_id=int(described.get("customer_id", 1)),
            channel_id=int(described.get("channel_id", 1)),
            status_id=int(described.get("status_id", 11)),
            base_payment_status="",
            is_tax_inclusive=bool(described.get("is_tax_inclusive", False)),
            shipping=shipping,
            shipping_tax=described.get("shipping_tax_minor", 0),
            handling=described.get("handling_minor", 0),
            texts={
                "staff_notes": described.get("staff_notes", ""),
                "customer_message": "",
                "external_order_id": described.get("external_order_id", ""),
                "payment_method": "",
            },
        )
        order.lines = [self._seed_line(order, each) for each in described["lines"]]
        for each in described.get("fees", []):
            fee_id = int(each.get("id") or self._fresh())
            order.fees[fee_id] = {
                "id": fee_id,
                "name": each.get("name", "Fee"),
                "amount": each["amount_minor"],
            }
        for each in described.get("payments", [{}]):
            self._seed_payment(order, each)
        first = order.payments[0] if order.payments else None
        order.texts["payment_method"] = _described(first.gateway) if first is not None else ""
        states = {
            "captured" if each.is_captured else "authorized" for each in order.payments if not each.is_offline
        }
        order.base_payment_status = described.get("payment_status", min(states, default=""))
        self.orders[order.id] = order
        if any(line.shipped for line in order.lines):
            self._ship(order, {line.id: line.shipped for line in order.lines if line.shipped})
        refunds = [self._seed_refund(order, each) for each in described.get("refunds", [])]
        order.status_id = int(described.get("status_id", order.status_id))
        order.modified = _date(str(described.get("modified", ""))) or created
        return {
            "id": order.id,
            "number": str(order.id),
            "currency": currency,
            "total_minor": order.total,
            "address_id": order.address_id,
            "lines": [
                {"id": each.id, **_identity(each.item), "stock": sum(each.item.levels.values())}
                for each in order.lines
            ],
            "fees": list(order.fees),
            "payments": [
                {
                    "id": each.transaction,
                    "gateway": each.gateway,
                    "amount_minor": each.amount,
                    "transaction_id": each.reference,
                }
                for each in order.payments
            ],
            "refunds": refunds,
        }

    def _seed_line(self, order: Order, described: Record) -> Line:
        sku, location = str(described.get("sku", "")), int(described.get("location", 1))
        if location not in self.locations:
            raise ValueError(f"there is no location {location}")
        variant = described.get("variant_id")
        item = next(
            (
                each
                for each in self.items.values()
                if each.variant_id == variant or (variant is None and sku and each.sku == sku)
            ),
            None,
        )
        kind = described.get("type", "physical")
        if item is None:
            tracking = described.get("tracking", "none" if kind == "digital" else "variant")
            product = described.get("product_id") or self._fresh()
            item = Item(sku, product, variant or self._fresh(), tracking, {})
            self.items[item.variant_id] = item
        if "stock" in described or location not in item.levels:
            item.levels[location] = described.get("stock", 10)
        quantity, shipped = described.get("quantity", 1), described.get("shipped", 0)
        if not isinstance(described.get("unit_minor"), int) or not 0 <= shipped <= quantity:
            raise ValueError("a line needs unit_minor, and ships no more than its quantity")
        # Where stock is taken only when an order is done, an open one took nothing that could come back; an order that
        # is over when seeded gave its units back before.
        is_early = self.inventory["update_stock_behavior"] == "order_placed"
        is_taken = order.status_id not in (REFUNDED, CANCELLED) and (is_early or order.status_id in (2, 10))
        return Line(
            id=int(described.get("id") or self._fresh()),
            item=item,
            title=str(described.get("title", sku or "A thing")),
            type=kind,
            location=location,
            quantity=quantity,
            unit=described["unit_minor"],
            unit_tax=described.get("unit_tax_minor", 0),
            discount=described.get("discount_minor", 0),
            wrapping=described.get("wrapping_minor", 0),
            shipped=shipped,
            taken=quantity if is_taken else 0,
        )

    def _seed_payment(self, order: Order, described: Record) -> None:
        gateway, is_captured = (
            described.get("gateway", "testgateway"),
            bool(described.get("is_captured", True)),
        )
        left = order.total - sum(each.amount for each in order.payments)
        payment = Payment(
            transaction=self._fresh(),
            gateway=gateway,
            amount=described.get("amount_minor", left),
            is_captured=is_captured,
            is_settled=bool(described.get("is_settled", is_captured)),
            reference=described.get("transaction_id") or self.mint("ch_"),
            can_refund=described.get("can_refund", True),
            can_refund_part=described.get("can_refund_part", True),
        )
        order.payments.append(payment)
        if not payment.is_offline:
            self._transaction(order, "purchase" if is_captured else "authorization", payment)

    def _seed_refund(self, order: Order, described: Record) -> int:
        items = described.get("items")
        if "amount_minor" in described:
            amount = Decimal(Money(described["amount_minor"], order.currency).major)
            items = [{"item_type": "ORDER", "item_id": order.id, "amount": amount}]
        refund = self._panel_refund(order, {**described, "items": items}, "seed")
        if described.get("is_declined"):
            for payback in refund.payments:
                self._decline(order, refund, payback, "Declined by the gateway.")
        return refund.id

    def _panel_refund(self, order: Order, described: Record, by: str) -> Refund:
        """As a person does it in the control panel: all that is left, or these items, back to where it was paid from."""
        items = described.get("items") or self._left(order)
        reason = described.get("reason", "")
        quote = self._quote(order, {"items": [{"reason": reason, **_exact(each)} for each in items]})
        chosen = [
            Payback(
                self._fresh(),
                option["provider_id"],
                option["amount"],
                bool(option["offline"] or described.get("is_offline")),
                to,
            )
            for option, to in quote.methods[-1]
        ]
        refund = self._accept(order, quote, chosen)
        self._carry_out(order, refund, by)
        return refund

    def _left(self, order: Order) -> list[Record]:
        found: list[Record] = [
            {"item_type": kind, "item_id": line.id, "quantity": units}
            for line in order.lines
            for kind in (_BY_QUANTITY if line.wrapping else ("PRODUCT",))
            if (units := line.quantity - order.spent[kind, line.id]) > 0
        ]
        amounts = [("SHIPPING", order.address_id), ("HANDLING", order.address_id)]
        for kind, id in [*amounts, *(("FEE", id) for id in order.fees)]:
            left = (self._worth(order, kind, id)[1] or 0) - order.spent[kind, id]
            if left > 0:
                amount = Decimal(Money(left, order.currency).major)
                found.append({"item_type": kind, "item_id": id, "amount": amount})
        return found

    def _ship(self, order: Order, units: Mapping[int, int]) -> None:
        lines = {each.id: each for each in order.lines}
        if not units or not set(units) <= set(lines):
            raise ValueError("ship units of lines that the order has")
        items = [
            {"order_product_id": id, "product_id": lines[id].item.product_id, "quantity": count}
            for id, count in units.items()
        ]
        order.shipments.append(
            {
                "id": self._fresh(),
                "order_id": order.id,
                "customer_id": order.customer_id,
                "order_address_id": order.address_id,
                "date_created": format_datetime(self._now()),
                "shipping_method": "Flat Rate",
                **dict.fromkeys(("tracking_number", "shipping_provider", "comments"), ""),
                **{
                    key: {**_ADDRESS, "email": order.email} for key in ("billing_address", "shipping_address")
                },
                "items": items,
            }
        )
        if not self.is_seeding:
            for id, count in units.items():
                lines[id].shipped += count
        is_all = all(each.shipped >= each.quantity for each in order.lines)
        self._set_status(order, SHIPPED if is_all else PARTIALLY_SHIPPED, by="control_panel", reference=None)

    def settle(self, data: Record) -> Record:
        match data:
            case {"refund": id, "status": ("succeeded" | "declined") as status}:
                return self._settle_refund(id, status, data.get("message", "Declined by the gateway."))
            case {"order": id, **rest}:
                return self._settle_order(self._known(id), rest)
            case {"stock": str(sku)}:
                item = next((each for each in self.items.values() if each.sku == sku), None)
                if item is None:
                    raise NoSuchObjectError(f"no stock of {sku!r} at the practice BigCommerce")
                if "quantity" in data:
                    item.levels[next(iter(item.levels))] = int(data["quantity"])
                return {"sku": sku, "stock": sum(item.levels.values())}
            case {"hook": id, "is_active": bool(is_active)}:
                hook = self.hooks.get(_id(id) or 0)
                if hook is None:
                    raise NoSuchObjectError(f"no hook {id!r} at the practice BigCommerce")
                hook["is_active"] = is_active
                return dict(hook)
            case _:
                raise ValueError("settle a refund, an order, stock or a hook; see the module's docstring")

    def _settle_refund(self, id: Any, status: str, message: str) -> Record:
        found = self._refund_of(_id(id))
        if found is None:
            raise NoSuchObjectError(f"no refund {id!r} at the practice BigCommerce")
        order, refund = found
        allowed = ("pending",) if status == "succeeded" else ("pending", "done")
        moving = [each for each in refund.payments if each.state in allowed and not each.is_offline]
        if not moving:
            raise ValueError(f"no payment of refund {id} can be {status} any more")
        for payback in moving:
            if status == "succeeded":
                self._pay(order, refund, payback, "api")
            else:
                self._decline(order, refund, payback, message)
        return self._shown_refund(order, refund)

    def _settle_order(self, order: Order, rest: Record) -> Record:
        match rest:
            case {"void": "succeeded"} if order.void == "void pending":
                self._void(order)
            case {"void": "failed"} if order.void:
                if order.void == "void":
                    held = sum(each.amount for each in order.payments if not each.is_captured)
                    self._write_money("void_failed", order, order.id, held, {})
                order.void = ""
                self._touch(order)
            case {"payment": "captured" | "settled"}:
                for payment in order.payments:
                    if not payment.is_captured and not payment.is_offline:
                        self._transaction(order, "capture", payment)
                    payment.is_captured = True
                    payment.is_settled = rest["payment"] == "settled" or payment.is_settled
                if order.base_payment_status == "authorized":
                    order.base_payment_status = "captured"
                self._touch(order)
            case {"status_id": int(status_id)} if 0 <= status_id < len(STATUSES):
                self._set_status(order, status_id, by="control_panel", reference=None)
            case {"panel_refund": dict(described)}:
                try:
                    refund = self._panel_refund(order, described, "control_panel")
                except RefusalError as refused:
                    raise ValueError(f"the control panel would refuse: {refused.answer.body}") from refused
                return self._shown_refund(order, refund)
            case {"ship": "all"}:
                left = {each.id: each.quantity - each.shipped for each in order.lines}
                self._ship(order, {id: units for id, units in left.items() if units})
            case {"ship": dict(units)}:
                self._ship(order, {int(id): int(count) for id, count in units.items()})
            case _:
                raise ValueError(f"an order that is {order.payment_status!r} cannot be settled so: {rest}")
        return self._shown_order(order, {})

    def _known(self, id: Any) -> Order:
        if (_id(id) or 0) not in self.orders:
            raise NoSuchObjectError(f"no order {id!r} at the practice BigCommerce")
        return self.orders[_id(id) or 0]

    # ------------------------------------------------------------ book, clock, events

    def _write(self, effect: str, **line: Any) -> None:
        if not self.is_seeding:
            self.book.write(effect, **line)

    def _write_money(
        self, effect: str, order: Order, id: int, amount: int, target: Record, **more: Any
    ) -> None:
        self._write(
            effect,
            id=str(id),
            amount_minor=amount,
            currency=order.currency,
            target={"order": str(order.id), **target},
            **more,
        )

    def _now(self) -> datetime:
        return self.world.clock().astimezone(UTC).replace(microsecond=0)

    def _fresh(self) -> int:
        self._last_id += 1
        return self._last_id

    def _touch(self, order: Order) -> None:
        order.modified = self._now()

    def _tell_stock(self, item: Item, location: int) -> None:
        stock = {
            "product_id": item.product_id,
            "variant_id": item.variant_id,
            "method": "absolute",
            "value": item.levels[location],
        }
        data = {"type": "product", "id": item.product_id, "inventory": stock}
        self._tell("store/product/inventory/order/updated", data)

    def _tell(self, topic: str, data: Record) -> None:
        """Nobody hears of what a hook that was set inactive would have told; without any hook, subscribers do."""
        if self.is_seeding:
            return
        event = self._event(topic, data)
        hooks = [each for each in self.hooks.values() if fnmatchcase(topic, each["scope"])]
        if not hooks or any(each["is_active"] for each in hooks):
            self.emit(event)

    def _event(self, topic: str, data: Record) -> Event:
        body: Record = {
            "store_id": self.store_id,
            "producer": f"stores/{self.hash}",
            "scope": topic,
            "data": data,
            "hash": hashlib.sha1(f"{topic} {self._fresh()}".encode(), usedforsecurity=False).hexdigest(),
            "created_at": int(self.world.clock().timestamp()),
        }
        event = Event(self.mint("msg_"), topic, body)
        self.events.append((topic, event))
        return event

    def event_for(self, topic: str, object_id: str) -> Event:
        """The newest event of that scope about the object, or one made now: asked for twice it is the same event."""
        for scope, event in reversed(self.events):
            data = event.body["data"]
            ids = (data.get("id"), data.get("refund", {}).get("refund_id"), data.get("transaction_id"))
            if scope == topic and str(object_id) in map(str, ids):
                return event
        if topic not in _TOPICS:
            raise NoSuchObjectError(f"the practice BigCommerce sends no {topic!r}")
        if topic == "store/order/refund/created":
            found = self._refund_of(_id(object_id))
            order = found[0] if found else self._known(object_id)
            refund = found[1] if found else next(iter(order.refunds[-1:]), None)
            if refund is None:
                raise NoSuchObjectError(f"order {object_id} has no refund")
            return self._event(topic, {"type": "order", "id": order.id, "refund": {"refund_id": refund.id}})
        if not topic.startswith("store/order/") or topic == "store/order/transaction/created":
            raise NoSuchObjectError(f"nothing was told about {object_id!r} with {topic}")
        order = self._known(object_id)
        is_status = topic == "store/order/statusUpdated"
        return self._event(topic, _status_data(order) if is_status else {"type": "order", "id": order.id})

    def sign(self, event: Event, url: str, secret: str) -> Delivery:
        """Standard Webhooks, keyed with the client secret's own bytes, and the static headers of the hook that fits best."""
        body, at = event.payload, int(self.world.clock().timestamp())
        signed = f"{event.id}.{at}.".encode() + body
        signature = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
        fitting = [each for each in self.hooks.values() if fnmatchcase(event.topic, each["scope"])]
        fitting.sort(key=lambda hook: hook["destination"] != url)
        headers = (fitting[0]["headers"] or {}) if fitting else self.hook_headers
        return Delivery(
            {
                "Content-Type": "application/json",
                "webhook-id": event.id,
                "webhook-timestamp": str(at),
                "webhook-signature": f"v1,{signature}",
                **headers,
            },
            body,
        )


# ---------------------------------------------------------------- errors, reading and writing values

_HOOK_FIELDS: Final = ("scope", "destination", "is_active", "headers")


def _error(call: Call, status: int, title: str, errors: Record | None = None) -> Answer:
    """The error in the shape of the API version that was called."""
    if "/v2/" in call.path:
        return Answer(status, [{"status": status, "message": title}])
    return _v3_error(status, title, errors)


def _v3_error(status: int, title: str, errors: Record | None = None, *, is_wrapped: bool = False) -> Answer:
    error = {"status": status, "title": title, "type": _TYPE, "errors": errors or {}}
    return Answer(status, {"data": [error], "meta": {}} if is_wrapped else error)


def _query(call: Call) -> dict[str, str]:
    return dict(call.query_pairs)


def _json(call: Call) -> Any:
    """The body with decimals kept exact: an amount such as 0.30000000000000004 shall be seen as what it is."""
    try:
        return json.loads(call.body, parse_float=Decimal)
    except ValueError:
        return None


def _object(call: Call) -> Record:
    body = _json(call)
    if not isinstance(body, dict):
        fail(400, "The request body is not a JSON object.")
    return body


def _id(value: Any) -> int | None:
    """A number, or a text of digits, as an id; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


def _amount(value: Any, currency: str, name: str) -> int:
    """A JSON number in major units as minor units; refuses texts, negatives and more decimals than the currency has."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        fail(422, "The request is not valid.", {name: "is not a number"})
    try:
        minor = Money.from_major(Decimal(value), currency).minor
    except ValueError:
        fail(422, "The request is not valid.", {name: "has too many decimals"})
    if minor < 0:
        fail(422, "The request is not valid.", {name: "is negative"})
    return minor


def _exact(item: Record) -> Record:
    """An item from the controls, where an amount may have come through JSON as a binary fraction."""
    return {name: Decimal(str(value)) if isinstance(value, float) else value for name, value in item.items()}


def _number(minor: int, currency: str) -> int | float:
    """As the v3 APIs write amounts. Nothing is computed with it: the nearest float prints the same decimals."""
    value = Decimal(Money(minor, currency).major)
    return int(value) if value == value.to_integral_value() else float(value)


def _fixed(minor: int, currency: str) -> str:
    """As the v2 API writes amounts: four places."""
    return f"{Decimal(Money(minor, currency).major):.4f}"


def _share(total: int, before: int, count: int, whole: int) -> int:
    """The part of a total that falls to `count` of `whole`, so that all parts together are the total."""
    return total * (before + count) // whole - total * before // whole


def _taken_by(item: Record) -> int:
    return int(item["quantity"] if "quantity" in item else item["amount"])


def _date(text: str) -> datetime | None:
    """ISO 8601 or RFC 2822; without a zone it is UTC. None for what is neither."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
        except ValueError:
            continue
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return None


def _date_in_query(text: str) -> datetime:
    return _date(text) or fail_v2(400, f"The date {text!r} is invalid.")


def _number_in_query(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        fail_v2(400, f"The number {text!r} is invalid.")


def _paging(call: Call, *, is_v2: bool = False, most: int = 250) -> tuple[int, int]:
    """Page and limit. More than the most is cut down without a word, so a full page is no sign of more than that."""
    query = _query(call)
    page, limit = _id(query.get("page", "1")), _id(query.get("limit", "50"))
    if not page or not limit:
        if is_v2:
            fail_v2(400, "The fields 'page' and 'limit' are numbers from 1 on.")
        fail(422, "The request is not valid.", {"page": "and limit are numbers from 1 on"})
    return page, min(limit, most)


def _meta(total: int, page: int, limit: int, count: int | None = None) -> Record:
    pages = max(1, math.ceil(total / limit))
    links = {"current": f"?page={page}&limit={limit}"}
    if page > 1:
        links["previous"] = f"?page={page - 1}&limit={limit}"
    if page < pages:
        links["next"] = f"?page={page + 1}&limit={limit}"
    return {
        "pagination": {
            "total": total,
            "count": total if count is None else count,
            "per_page": limit,
            "current_page": page,
            "total_pages": pages,
            "links": links,
        }
    }


def _described(provider: str) -> str:
    names = {
        "storecredit": "Store Credit",
        "giftcertificate": "Gift Certificate",
        "bankdeposit": "Bank Deposit",
        "testgateway": "Test Payment Gateway",
        "paypalexpress": "PayPal",
    }
    return names.get(provider, provider.capitalize())


def _option(provider: str, amount: int, offline_reason: str = "") -> Record:
    return {
        "provider_id": provider,
        "provider_description": _described(provider),
        "amount": amount,
        "offline": bool(offline_reason),
        "offline_provider": provider in _OFFLINE,
        "offline_reason": offline_reason,
    }


def _identity(item: Item) -> Record:
    return {"sku": item.sku, "variant_id": item.variant_id, "product_id": item.product_id}


def _levels(item: Item, location: int) -> Record:
    units = item.levels.get(location, 0)
    settings = {"safety_stock": 0, "is_in_stock": units > 0, "warning_level": 0, "bin_picking_number": ""}
    return {"available_to_sell": units, "total_inventory_onhand": units, "settings": settings}


def _costs(name: str, inc: int, tax: int, currency: str) -> Record:
    """An amount with, without and of tax, as the v2 API has most of its amounts."""
    parts = {"ex_tax": inc - tax, "inc_tax": inc, "tax": tax}
    return {f"{name}_{part}": _fixed(minor, currency) for part, minor in parts.items()}


def _status_data(order: Order) -> Record:
    change = {"previous_status_id": order.previous_status_id, "new_status_id": order.status_id}
    return {"type": "order", "id": order.id, "status": change}
