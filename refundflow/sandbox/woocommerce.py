"""A practice WooCommerce: orders, refunds, stock and webhooks of one shop under `/woocommerce/wp-json/wc/v3/`.

API wc/v3 as of WooCommerce 11 (woocommerce.github.io/woocommerce-rest-api-docs and the plugin's public source, read
2026-11-23). Operations: `list_orders`, `get_order`, `update_order`, `list_refunds`, `create_refund`, `get_refund`,
`delete_refund`, `list_all_refunds`, `list_products`, `get_product`, `update_product`, `get_variation`, `update_variation`,
`list_webhooks`, `create_webhook`, `get_webhook`, `update_webhook`, `delete_webhook`.

Strict about: consumer key and secret (Basic, or in the query) and what the key may do, types of declared parameters, known
statuses, the amount that is left. As careless as the vendor about the rest: no state machine for orders, unknown parameters and
filters ignored, a JSON body without its content type not read, refund lines of no order line dropped in silence, refunds of an
unknown order an empty list. Nothing is idempotent: two equal refunds are two refunds, and two at once (put a latency on them)
both pass the check of what is left. `api_refund` and `api_restock` are true unless a boolean says otherwise, and null is none.
Errors of the refunds controller carry a bare integer as `data` and come as HTTP 500. Requests count as having come over TLS.

Faults: `refuse` takes as code `gateway` (the default for a refund), `no_automatic_refunds`, `amount` or `order`, else a code of
the vendor's own. `slow_pending` on a refund through the gateway: the shop says it is paid, the money leaves when settled.
`late_failure`: the money comes back later and the shop's record never says so. A status, html or lost_reply fault that lets the
act happen may have the code `record_only` (broken off before the gateway was asked), `money_only` (paid, no record left) or
`no_meta` (all done but the refund's meta, which is saved last).

Webhooks: the shop's own (created through the API or seeded) and a subscription at the controls get each delivery once, never
again; its own are switched off after failures. A request that changes an order tells of it once. `action.<hook>` goes only
where that topic is named. Creating one posts a ping without any signature.

`seed({"settings"?: {…}, "keys"?: [{"key", "secret", "permissions"?}], "products"?: [{"id"?, "sku", "title"?, "stock"?,
"parent_id"?}], "webhooks"?: [{"topic", "delivery_url", "secret", "status"?}], "orders"?: [{"id"?, "number"?, "currency"?,
"status"?, "created"?, "modified"?, "email"?, "phone"?, "first_name"?, "last_name"?, "country"?, "note"?, "meta"?: {…}, "shipping_minor"?,
"shipping_tax_minor"?, "fees"?: [{"id"?, "title"?, "total_minor", "tax_minor"?}], "lines": [{"id"?, "sku"?, "title"?, "product_id"?,
"variation_id"?, "quantity"?, "unit_minor", "discount_minor"?, "tax_minor"?, "shipped"?, "stock"?, "manages_stock"?,
"reduced"?}], "payments"?: [{"gateway"?, "title"?, "status"?, "transaction_id"?, "amount_minor"?, "supports_refunds"?,
"declines"?}], "refunds"?: [{"id"?, "amount_minor", "reason"?, "api_refund"?, "meta"?}]}]})`. `unit_minor` is without tax,
`tax_minor` the tax of the whole line. `stock` is what is left after this order took its part (default 100); lines of one SKU
share it. A payment (at most one; default: stripe, all of it) is `captured`, `authorised` or `none`. The shop knows no shipped
quantities: an order with every line `shipped` is `completed`. Times are ISO 8601. See `Settings` for the settings.

`settle` takes `{"order": id, "status": …}` (a person changes it), `{"order": id, "payment": "captured" | "released"}`,
`{"order": id, "admin_refund": {"amount_minor", "reason"?, "api_refund"?, "lines"?: [{"id", "quantity"}]}}`, `{"order": id,
"deleted": true | false}`, `{"refund": id, "status": "succeeded" | "failed"}`, `{"refund": id, "deleted": true}`, `{"sku": …, "stock"?: n}` or `{"webhook": id}`.

Book: `refund` (money sent by the gateway plugin), `record_refund`, `refund_failed`, `delete_refund`, `void`, `cancel_order`,
`set_status` (any other status), `restock`, `reduce_stock`, `set_stock`. `reference` holds the reason and meta that the caller sent.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import itertools
import json
import operator
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, ClassVar, Final, NoReturn

from refundflow.domain.money import exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Operation,
    Record,
    RefusalError,
    Route,
    Vendor,
)

CONSUMER_KEY: Final = "ck_practice"
CONSUMER_SECRET: Final = "cs_practice"  # noqa: S105 (a practice secret, known to everybody)
READ_KEY: Final = "ck_practice_read"
READ_SECRET: Final = "cs_practice_read"  # noqa: S105 (likewise)
SITE: Final = "https://practice-shop.example/"
VERSION: Final = "11.2.0"
# A webhook that failed so often in a row is switched off by its next failure.
FAILURES_BORNE: Final = 6

_ROOT: Final = "/wp-json/wc/v3"
_STATUSES: Final = (
    *("pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed"),
    *("checkout-draft", "auto-draft"),
)
_HIDDEN: Final = ("trash", "auto-draft", "checkout-draft")
_TAKES_STOCK: Final = ("processing", "completed", "on-hold")
_GIVES_STOCK: Final = ("cancelled", "pending")
_PAID: Final = ("processing", "completed")
_DIRECTIONS: Final = ("desc", "asc")
# The shop's own offline methods; every other gateway is a plugin that can send money back.
_OFFLINE: Final = ("bacs", "cheque", "cod")
_TAX_RATE: Final = 1
_TOPICS: Final = ("order.created", "order.updated", "order.deleted", "order.restored")
_VERBS: Final = {"GET": "view", "POST": "create", "PUT": "edit", "PATCH": "edit", "DELETE": "delete"}
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?")
_ENTITY: Final = re.compile(r"&(?:(amp|lt|gt|quot)|#0*(34|39)|#x0*(22|27));", re.IGNORECASE)
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"'} | {
    "34": '"',
    "39": "'",
    "22": '"',
    "27": "'",
}
_ORDER_NAMES: Final = (
    "id number currency status created modified email phone first_name last_name country note meta shipping_minor "
    "shipping_tax_minor fees lines payments refunds"
)
_LINE_NAMES: Final = "id sku title product_id variation_id quantity unit_minor discount_minor tax_minor shipped stock manages_stock reduced"
_PAYMENT_NAMES: Final = "gateway title status transaction_id amount_minor supports_refunds declines"
_CUSTOMER: Final = {
    "phone": "",
    "email": "ada@example.com",
    "first_name": "Ada",
    "last_name": "Practice",
    "country": "DE",
}
_PAGE: Final = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>"
_REFUND_CODE: Final = "woocommerce_rest_cannot_create_order_refund"
_REFUND_REFUSALS: Final = {
    "amount": (500, _REFUND_CODE, "Invalid refund amount."),
    "gateway": (500, _REFUND_CODE, "The practice gateway declined to send the money back."),
    "no_automatic_refunds": (500, _REFUND_CODE, "This order's gateway can send no money back by itself."),
    "no_gateway": (500, _REFUND_CODE, "This order's gateway is not installed."),
    "order": (404, "woocommerce_rest_invalid_order_id", "Invalid order ID."),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How this shop is set up; where the vendor's behaviour is only remembered, the default is the more dangerous reading.

    `releases_on_cancel`: the gateway plugin lets go of an uncaptured payment when the order becomes cancelled or refunded.
    `answers_500`: errors with a bare integer come as HTTP 500, else with that integer. `restores_stock`: no plugin vetoes
    it. `price_decimals`: places shown without `dp`, whatever the currency. `utc_offset_h`: the shop's own time, which
    lists filter by unless `dates_are_gmt`. `has_refunds_list`: knows `GET /refunds`. `has_permalinks`: serves `/wp-json/`.
    `strips_authorization`: the host drops that header before the shop sees it.
    """

    releases_on_cancel: bool = True
    answers_500: bool = True
    restores_stock: bool = True
    price_decimals: int = 2
    utc_offset_h: int = 2
    has_refunds_list: bool = False
    has_permalinks: bool = True
    strips_authorization: bool = False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`permissions`: read, write or read_write."""

    secret: str
    permissions: str = "read_write"


@dataclass(slots=True)
class Product:
    """A product, or a variation where `parent_id` is set. `stock` is None where the shop does not manage it."""

    id: int
    sku: str
    title: str
    stock: int | None
    parent_id: int = 0


@dataclass(slots=True)
class Item:
    """A line of an order. `kind` is its list's name in JSON; amounts are minor units without tax; `reduced` is the
    `_reduced_stock` meta, None where absent."""

    id: int
    kind: str
    title: str
    total: int
    tax: int = 0
    subtotal: int = 0
    quantity: int = 1
    product: Product = field(default_factory=lambda: Product(0, "", "", None))
    reduced: int | None = None
    restocked: int = 0


@dataclass(slots=True)
class Payment:
    """The order's one payment. `status`: captured, authorised, released or none; `refunded`: minor units sent back or on the way."""

    gateway: str
    title: str
    amount: int
    status: str
    transaction_id: str
    can_refund: bool
    declines: bool = False
    refunded: int = 0


@dataclass(frozen=True, slots=True)
class RefundedItem:
    """A line of a refund: what of `item` came back. Amounts and quantity are positive here and negative in JSON."""

    id: int
    item: Item
    quantity: int
    total: int
    taxes: dict[int, int]


@dataclass(slots=True)
class Refund:
    """`is_paid`: the gateway was asked and said yes; `is_on_its_way`: and yet the money has not left."""

    id: int
    created: datetime
    amount: int
    reason: str
    is_paid: bool = False
    is_on_its_way: bool = False
    items: list[RefundedItem] = field(default_factory=list)
    meta: list[Record] = field(default_factory=list)
    reference: Record = field(default_factory=dict)


@dataclass(slots=True)
class Order:
    """`is_stock_reduced`: the shop believes that this order took its stock, so that it may be given back once."""

    id: int
    number: str
    key: str
    status: str
    currency: str
    created: datetime
    modified: datetime
    payment: Payment
    billing: Record
    note: str = ""
    paid: datetime | None = None
    completed: datetime | None = None
    is_stock_reduced: bool = False
    status_before_trash: str = ""
    items: list[Item] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    meta: list[Record] = field(default_factory=list)

    def of(self, kind: str) -> list[Item]:
        """Its items of one kind."""
        return [each for each in self.items if each.kind == kind]

    @property
    def total(self) -> int:
        return sum(each.total + each.tax for each in self.items)

    @property
    def remaining(self) -> int:
        """What is left to refund; below zero after two refunds at once."""
        return self.total - sum(each.amount for each in self.refunds)

    @property
    def items_left(self) -> int:
        back = sum(each.quantity for refund in self.refunds for each in refund.items)
        return sum(each.quantity for each in self.of("line_items")) - back


@dataclass(frozen=True, slots=True)
class Wish:
    """A refund as asked for. `lines`: order line ids with `quantity`, `refund_total` and `refund_tax` as sent."""

    amount: int
    reason: str
    meta: Record
    moves_money: bool
    restocks: bool
    lines: dict[int, Record]

    @property
    def reference(self) -> Record:
        return {"reason": self.reason, **self.meta}


@dataclass(slots=True)
class Webhook:
    """`failures`: in a row; `ping_status`: what the ping on creation was answered with (None: not yet, or seeded)."""

    id: int
    name: str
    topic: str
    delivery_url: str
    secret: str
    created: datetime
    modified: datetime
    status: str = "active"
    failures: int = 0
    ping_status: int | None = None


class WooCommerce(Vendor):
    """See the module's docstring. Orders, refunds and products draw their ids from one sequence, lines from another."""

    name: ClassVar[str] = "woocommerce"

    def clear(self) -> None:
        self.settings = Settings()
        self.keys = {CONSUMER_KEY: ApiKey(CONSUMER_SECRET), READ_KEY: ApiKey(READ_SECRET, "read")}
        self.orders: dict[int, Order] = {}
        self.products: dict[int, Product] = {}
        self.webhooks: dict[int, Webhook] = {}
        # What was left to refund when a request came in, by request: the check and the act are two moments.
        self._left: dict[str, int] = {}
        # Begins elsewhere after each reset, so that an old id names nothing.
        self._ids = itertools.count(random.randrange(10_000, 9_000_000))
        self._item_ids = itertools.count(random.randrange(300, 900_000))
        self._meta_ids = itertools.count(random.randrange(5_000, 900_000))
        self._routes = (
            Route("GET", f"{_ROOT}/orders", "list_orders", self.list_orders),
            Route("GET", f"{_ROOT}/orders/{{id}}", "get_order", self.get_order),
            *(
                Route(method, f"{_ROOT}/orders/{{id}}", "update_order", self.update_order)
                for method in ("PUT", "POST", "PATCH")
            ),
            Route("GET", f"{_ROOT}/orders/{{order}}/refunds", "list_refunds", self.list_refunds),
            Route("POST", f"{_ROOT}/orders/{{order}}/refunds", "create_refund", self.create_refund),
            Route("GET", f"{_ROOT}/orders/{{order}}/refunds/{{id}}", "get_refund", self.get_refund),
            Route("DELETE", f"{_ROOT}/orders/{{order}}/refunds/{{id}}", "delete_refund", self.delete_refund),
            Route("GET", f"{_ROOT}/refunds", "list_all_refunds", self.list_all_refunds),
            Route("GET", f"{_ROOT}/products", "list_products", self.list_products),
            Route("GET", f"{_ROOT}/products/{{id}}", "get_product", self.get_product),
            Route("PUT", f"{_ROOT}/products/{{id}}", "update_product", self.update_product),
            Route(
                "GET", f"{_ROOT}/products/{{product}}/variations/{{id}}", "get_variation", self.get_product
            ),
            Route(
                "PUT",
                f"{_ROOT}/products/{{product}}/variations/{{id}}",
                "update_variation",
                self.update_product,
            ),
            Route("GET", f"{_ROOT}/webhooks", "list_webhooks", self.list_webhooks),
            Route("POST", f"{_ROOT}/webhooks", "create_webhook", self.create_webhook),
            Route("GET", f"{_ROOT}/webhooks/{{id}}", "get_webhook", self.get_webhook),
            Route("PUT", f"{_ROOT}/webhooks/{{id}}", "update_webhook", self.update_webhook),
            Route("DELETE", f"{_ROOT}/webhooks/{{id}}", "delete_webhook", self.delete_webhook),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    # ------------------------------------------------------------ at the door

    def find(self, call: Call) -> Operation:
        found = super().find(replace(call, path=call.path.rstrip("/")))
        if not self.settings.has_permalinks or not all(id.isdecimal() for id in found.ids.values()):
            return Operation("unknown", self.not_found, is_open=True)
        return replace(found, is_open=True) if found.name == "unknown" else found

    def authorise(self, call: Call) -> Answer | None:
        key, secret = self._credentials(call)
        known = self.keys.get(key)
        if known is None:
            # An unknown key is nobody, and nobody is told about rights, not about keys.
            verb = _VERBS.get(call.method, "view")
            return _error(401, f"woocommerce_rest_cannot_{verb}", f"Sorry, you may not {verb} this.")
        if not hmac.compare_digest(known.secret.encode(), secret.encode()):
            return self.unauthorised(call)
        wanted = "read" if call.method == "GET" else "write"
        if wanted not in known.permissions.split("_"):
            why = f"This API key has no permission to {wanted}."
            return _error(401, "woocommerce_rest_authentication_error", why)
        return None

    def _credentials(self, call: Call) -> tuple[str, str]:
        query = dict(call.query_pairs)
        if "consumer_key" in query:
            return query["consumer_key"], query.get("consumer_secret", "")
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or self.settings.strips_authorization:
            return "", ""
        try:
            key, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
        except ValueError:
            return "", ""
        return key, secret

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _error(401, "woocommerce_rest_authentication_error", "Consumer secret is invalid.")

    def refuse(self, call: Call) -> Answer:
        code = call.fault.code if call.fault is not None else ""
        if call.operation == "create_refund" and code in ("", *_REFUND_REFUSALS):
            return self._bare(*_REFUND_REFUSALS[code or "gateway"])
        if call.method == "GET":
            return _error(404, code or "woocommerce_rest_shop_order_invalid_id", "Invalid ID.")
        verb = _VERBS.get(call.method, "edit")
        return _error(403, code or f"woocommerce_rest_cannot_{verb}", f"Sorry, you may not {verb} this.")

    def not_found(self, call: Call) -> Answer:
        if call.path.startswith("/wp-json") and self.settings.has_permalinks:
            return _error(404, "rest_no_route", "No route was found for this URL and request method.")
        # Without pretty permalinks (or outside of the API) it is the theme's page that says so.
        return Answer(404, _PAGE.format("Page not found"), content_type="text/html")

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        if status in (429, 502, 503, 504):
            # Those come from the host in front of the shop, which speaks no JSON.
            return _PAGE.format(f"{status} from the practice host")
        message = "There has been a critical error on this website."
        return {"code": "internal_server_error", "message": message, "data": {"status": status}}

    def begin(self, call: Call) -> Answer | None:
        if call.operation == "create_refund" and (order := self.orders.get(int(call.ids["order"]))):
            self._left[call.request_id] = order.remaining
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:
        self._left.pop(call.request_id, None)
        if isinstance(answer.body, str):
            return replace(answer, content_type="text/html")
        return answer

    def _bare(self, number: int, code: str, message: str) -> Answer:
        """An error whose `data` is a bare integer, which the framework does not take for a status."""
        status = 500 if self.settings.answers_500 else number
        return Answer(status, {"code": code, "message": message, "data": number})

    def _fatal(self, call: Call) -> NoReturn:
        raise RefusalError(Answer(500, self.failure(call, 500)))

    # ------------------------------------------------------------ orders

    def list_orders(self, call: Call) -> Answer:
        query = Query(call)
        statuses = query.many("status") or ["any"]
        for status in statuses:
            if status not in ("any", "trash", *_STATUSES):
                query.problems["status"] = f"status[0] is not one of {', '.join(_STATUSES)}"
        found = [
            each
            for each in self.orders.values()
            if each.status in statuses or ("any" in statuses and each.status not in _HIDDEN)
        ]
        is_gmt = query.flag("dates_are_gmt")
        for name, attribute, is_wanted in (
            ("after", "created", operator.gt),
            ("before", "created", operator.lt),
            ("modified_after", "modified", operator.gt),
            ("modified_before", "modified", operator.lt),
        ):
            if (moment := query.moment(name)) is not None:
                bound = self._bound(moment)
                found = [o for o in found if is_wanted(self._column(getattr(o, attribute), is_gmt), bound)]
        if text := query.text("search").casefold():
            found = [each for each in found if text in _searched(each)]
        if include := query.many("include"):
            found = [each for each in found if str(each.id) in include]
        orderby = query.one_of("orderby", ("date", "id", "include", "title", "slug", "modified"))
        attribute = {"date": "created", "modified": "modified"}.get(orderby, "id")
        found.sort(
            key=operator.attrgetter(attribute, "id"), reverse=query.one_of("order", _DIRECTIONS) == "desc"
        )
        places = self._places(query)
        return query.page(found, lambda order: self._shown(order, places))

    def _column(self, moment: datetime, is_gmt: bool) -> datetime:
        """A stored time as the database has it: without zone, in UTC or in the shop's own time."""
        offset = timedelta(0) if is_gmt else timedelta(hours=self.settings.utc_offset_h)
        return (moment + offset).replace(tzinfo=None)

    def _bound(self, moment: datetime) -> datetime:
        """A bound as sent. With an offset it is turned into the shop's own time, even where UTC is compared (from memory)."""
        if moment.tzinfo is None:
            return moment
        return moment.astimezone(timezone(timedelta(hours=self.settings.utc_offset_h))).replace(tzinfo=None)

    def get_order(self, call: Call) -> Answer:
        return Answer(200, self._shown(self._order(call, 404), self._places(Query(call))))

    def update_order(self, call: Call) -> Answer:
        """Sets status and meta; other fields that the vendor would write are not practised and stay as they are."""
        order = self._order(call, 400)
        sent, places = _body(call), self._places(Query(call))
        problems: dict[str, str] = {}
        status = sent.get("status")
        if status is not None and status not in _STATUSES:
            problems["status"] = f"status is not one of {', '.join(_STATUSES)}."
        meta = _meta(sent, problems)
        _check(problems)
        self._write_meta(order.meta, meta)
        if status:
            self._move(order, status, dict(meta), "api")
        self._saved(order)
        return Answer(200, self._shown(order, places))

    def _order(self, call: Call, status: int) -> Order:
        order = self.orders.get(int(call.ids["id"]))
        if order is None:
            raise RefusalError(_error(status, "woocommerce_rest_shop_order_invalid_id", "Invalid ID."))
        return order

    def _move(self, order: Order, status: str, reference: Record, by: str) -> None:
        """Changes the status, whatever it was, and does what hangs on it. The same status again does nothing."""
        if status == order.status:
            return
        order.status = status
        if status == "completed":
            order.completed = self._now()
        if status in _PAID and order.paid is None:
            # The shop takes a paid status for a payment; whether money came it does not ask.
            order.paid = self._now()
        if status == "cancelled":
            self._book("cancel_order", order, order.id, reference, by=by)
        else:
            self._book("set_status", order, order.id, reference, by=by, status=status)
        if status in _GIVES_STOCK:
            self._restore_stock(order, reference)
        if status in _TAKES_STOCK:
            self._take_stock(order)
        if status == "refunded" and order.remaining > 0:
            self._record_rest(order)
        if status in ("cancelled", "refunded") and self.settings.releases_on_cancel:
            self._release(order, reference, "gateway")
        hook = f"woocommerce_order_status_{status}"
        self.emit(self._event(f"action.{hook}", {"action": hook, "arg": order.id}))

    def _record_rest(self, order: Order) -> None:
        """A status set to refunded by hand: the rest is written down as refunded, and nobody pays."""
        reason = "The order was set to refunded."
        refund = Refund(self._fresh(), self._now(), order.remaining, reason, reference={"reason": reason})
        order.refunds.append(refund)
        self._book_refund("record_refund", order, refund, "core")

    def _release(self, order: Order, reference: Record, by: str) -> None:
        payment = order.payment
        if payment.status != "authorised":
            return
        payment.status = "released"
        self._book("void", order, payment.transaction_id, reference, payment.amount, by=by)

    def _saved(self, order: Order) -> None:
        order.modified = self._now()
        self.emit(self.event_for("order.updated", str(order.id)))

    def _book(
        self, effect: str, order: Order, id: object, reference: Record, amount: int | None = None, **more: Any
    ) -> None:
        self.book.write(
            effect,
            id=str(id),
            amount_minor=amount,
            currency=order.currency if amount is not None else None,
            target={"order": str(order.id), "number": order.number, "payment": order.payment.transaction_id},
            reference=reference,
            **more,
        )

    # ------------------------------------------------------------ stock

    def _restore_stock(self, order: Order, reference: Record) -> None:
        if not order.is_stock_reduced:
            return
        for item in order.of("line_items"):
            if item.reduced and self.settings.restores_stock:
                self._raise_stock(order, item, item.reduced, reference)
                item.reduced = None
        order.is_stock_reduced = False

    def _take_stock(self, order: Order) -> None:
        if order.is_stock_reduced:
            return
        for item in order.of("line_items"):
            if not item.reduced and item.product.stock is not None:
                self._raise_stock(order, item, -item.quantity, {})
                item.reduced = item.quantity
        order.is_stock_reduced = True

    def _restock(self, order: Order, wish: Wish) -> None:
        """What a refund brings back: the quantities asked for, never measured against what the order took."""
        for item in order.of("line_items"):
            quantity = wish.lines.get(item.id, {}).get("quantity", 0)
            if item.reduced and quantity and self.settings.restores_stock:
                self._raise_stock(order, item, quantity, wish.reference)
                item.reduced -= quantity
                item.restocked += quantity

    def _raise_stock(self, order: Order, item: Item, change: int, reference: Record) -> None:
        """Changes the stock of a managed product. Below zero after more came back than the order took: the excess goes again."""
        if item.product.stock is None:
            return
        item.product.stock += change
        effect = "restock" if change > 0 else "reduce_stock"
        self._book(effect, order, item.id, reference, sku=item.product.sku, quantity=abs(change))

    # ------------------------------------------------------------ refunds

    def create_refund(self, call: Call) -> Answer:
        sent, places = _body(call), self._places(Query(call))
        problems: dict[str, str] = {}
        for name in ("amount", "reason"):
            if sent.get(name) is not None and not isinstance(sent[name], str):
                problems[name] = f"{name} is not of type string."
        moves_money = _switch(sent, "api_refund", problems)
        restocks = _switch(sent, "api_restock", problems)
        meta = _meta(sent, problems)
        lines = _refund_lines(sent, problems)
        _check(problems)
        order = self.orders.get(int(call.ids["order"]))
        if order is None:
            raise RefusalError(self._bare(*_REFUND_REFUSALS["order"]))
        amount = _amount_of(sent.get("amount"), lines)
        if amount is not None and amount < 0:
            code = "woocommerce_rest_invalid_order_refund"
            raise RefusalError(self._bare(400, code, "A refund's amount must be above zero."))
        left = self._left.get(call.request_id, order.remaining)
        if amount is None or amount > _major(left, order.currency):
            raise RefusalError(self._bare(*_REFUND_REFUSALS["amount"]))
        minor = _minor(amount, order.currency)
        wish = Wish(minor, sent.get("reason") or "", meta, moves_money, restocks, lines)
        refund = self._refund(order, wish, left, "api", call)
        return Answer(201, self._shown_refund(order, refund, places))

    def _refund(self, order: Order, wish: Wish, left: int, by: str, call: Call | None) -> Refund:
        """Writes the refund down, has it paid, brings stock back, and only then looks whether all is refunded."""
        crash = _crash(call)
        items_left = order.items_left
        refund = Refund(self._fresh(), self._now(), wish.amount, wish.reason, reference=wish.reference)
        refund.items = self._refunded_items(order, wish.lines)
        order.refunds.append(refund)
        if wish.moves_money:
            if call is not None and crash == "record_only":
                self._book_refund("record_refund", order, refund, by)
                self._fatal(call)
            try:
                self._pay_back(order, refund, by, call)
            except RefusalError:
                order.refunds.remove(refund)
                raise
            refund.is_paid = True
            if call is not None and crash == "money_only":
                order.refunds.remove(refund)
                self._fatal(call)
        else:
            self._book_refund("record_refund", order, refund, by)
        if wish.restocks:
            self._restock(order, wish)
        has_free = any(each.total == 0 for each in order.of("line_items"))
        back = sum(each.quantity for each in refund.items)
        if left - wish.amount <= 0 and not (wish.lines and has_free and items_left - back > 0):
            self._move(order, "refunded", wish.reference, "core")
        if crash != "no_meta":
            self._write_meta(refund.meta, wish.meta)
        self._saved(order)
        return refund

    def _refunded_items(self, order: Order, lines: Mapping[int, Record]) -> list[RefundedItem]:
        found = []
        for item in order.items:
            line = lines.get(item.id)
            if line is None or not any(line.get(name) for name in ("quantity", "refund_total", "refund_tax")):
                continue
            total = _minor(line.get("refund_total", Decimal(0)), order.currency)
            taxes = {rate: _minor(tax, order.currency) for rate, tax in line.get("refund_tax", {}).items()}
            found.append(RefundedItem(next(self._item_ids), item, line.get("quantity", 0), total, taxes))
        return found

    def _pay_back(self, order: Order, refund: Refund, by: str, call: Call | None) -> None:
        payment = order.payment
        if payment.status == "none":
            raise RefusalError(self._bare(*_REFUND_REFUSALS["no_gateway"]))
        if not payment.can_refund:
            raise RefusalError(self._bare(*_REFUND_REFUSALS["no_automatic_refunds"]))
        left = payment.amount - payment.refunded
        if payment.declines or payment.status != "captured" or not 0 < refund.amount <= left:
            raise RefusalError(self._bare(*_REFUND_REFUSALS["gateway"]))
        payment.refunded += refund.amount
        if call is not None and call.has(Kind.SLOW_PENDING):
            refund.is_on_its_way = True
            return
        self._book_refund("refund", order, refund, by)
        if call is not None and call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self._fail_refund(order, refund))

    def _fail_refund(self, order: Order, refund: Refund) -> Record:
        """The gateway's refund fails after all. Nobody tells the shop, so its record stays as it is."""
        order.payment.refunded -= refund.amount
        if not refund.is_on_its_way:
            self._book_refund("refund_failed", order, refund, "gateway")
        refund.is_on_its_way = False
        return self._shown_refund(order, refund, self.settings.price_decimals)

    def _book_refund(self, effect: str, order: Order, refund: Refund, by: str) -> None:
        self._book(effect, order, refund.id, refund.reference, refund.amount, by=by)

    def list_refunds(self, call: Call) -> Answer:
        # An order that is not there has no refunds, and that is all that is said of it.
        order = self.orders.get(int(call.ids["order"]))
        return self._refund_list(call, [order] if order is not None else [], is_all=False)

    def list_all_refunds(self, call: Call) -> Answer:
        if not self.settings.has_refunds_list:
            return self.not_found(call)
        return self._refund_list(call, self.orders.values(), is_all=True)

    def _refund_list(self, call: Call, orders: Iterable[Order], *, is_all: bool) -> Answer:
        query = Query(call)
        places = self._places(query)
        found = [(order, refund) for order in orders for refund in order.refunds]
        found.sort(
            key=lambda pair: (pair[1].created, pair[1].id),
            reverse=query.one_of("order", _DIRECTIONS) == "desc",
        )

        def show(pair: tuple[Order, Refund]) -> Record:
            shown = self._shown_refund(*pair, places)
            return {**shown, "parent_id": pair[0].id} if is_all else shown

        return query.page(found, show)

    def get_refund(self, call: Call) -> Answer:
        order, refund = self._asked_refund(call)
        return Answer(200, self._shown_refund(order, refund, self._places(Query(call))))

    def delete_refund(self, call: Call) -> Answer:
        """Removes the record. Neither money nor stock nor status comes back with it."""
        order, refund = self._asked_refund(call)
        query = Query(call)
        if not query.flag("force", default=True):
            raise RefusalError(_error(501, "woocommerce_rest_trash_not_supported", "Refunds have no trash."))
        shown = self._shown_refund(order, refund, self._places(query))
        self._drop_refund(order, refund, "api")
        return Answer(200, shown)

    def _drop_refund(self, order: Order, refund: Refund, by: str) -> None:
        order.refunds.remove(refund)
        self._book_refund("delete_refund", order, refund, by)
        self._saved(order)

    def _asked_refund(self, call: Call) -> tuple[Order, Refund]:
        id = int(call.ids["id"])
        owner = next((each for each in self.orders.values() if any(r.id == id for r in each.refunds)), None)
        if owner is None and id not in self.orders:
            raise RefusalError(_error(404, "woocommerce_rest_shop_order_refund_invalid_id", "Invalid ID."))
        asked = self.orders.get(int(call.ids["order"]))
        if asked is None:
            raise RefusalError(self._bare(*_REFUND_REFUSALS["order"]))
        if owner is not asked:
            code = "woocommerce_rest_invalid_order_refund_id"
            raise RefusalError(self._bare(404, code, "Invalid order refund ID."))
        return asked, next(each for each in asked.refunds if each.id == id)

    # ------------------------------------------------------------ products

    def list_products(self, call: Call) -> Answer:
        query = Query(call)
        found = [each for each in self.products.values() if each.parent_id == 0]
        if sku := query.text("sku"):
            # By SKU variations are found too.
            found = [each for each in self.products.values() if each.sku in sku.split(",")]
        found.sort(key=lambda product: product.id, reverse=True)
        return query.page(found, _shown_product)

    def get_product(self, call: Call) -> Answer:
        return Answer(200, _shown_product(self._product(call, 404)))

    def update_product(self, call: Call) -> Answer:
        product = self._product(call, 400)
        sent = _body(call)
        stock = sent.get("stock_quantity")
        if stock is not None and (isinstance(stock, bool) or not isinstance(stock, int)):
            _check({"stock_quantity": "stock_quantity is not of type integer."})
        if stock is not None and product.stock is not None:
            self.book.write(
                "set_stock",
                id=str(product.id),
                sku=product.sku,
                quantity=stock,
                before=product.stock,
                by="api",
            )
            product.stock = stock
        return Answer(200, _shown_product(product))

    def _product(self, call: Call, status: int) -> Product:
        product = self.products.get(int(call.ids["id"]))
        parent = call.ids.get("product")
        if product is None or (parent is not None and product.parent_id != int(parent)):
            kind = "product" if parent is None else "product_variation"
            raise RefusalError(_error(status, f"woocommerce_rest_{kind}_invalid_id", "Invalid ID."))
        return product

    # ------------------------------------------------------------ webhooks

    def list_webhooks(self, call: Call) -> Answer:
        query = Query(call)
        status = query.one_of("status", ("all", "active", "paused", "disabled"))
        found = [each for each in self.webhooks.values() if status in ("all", each.status)]
        found.sort(key=lambda hook: hook.id, reverse=query.one_of("order", _DIRECTIONS) == "desc")
        return query.page(found, self._shown_webhook)

    def create_webhook(self, call: Call) -> Answer:
        sent = _body(call)
        missing = [name for name in ("topic", "delivery_url") if not sent.get(name)]
        if missing:
            message = f"Missing parameter(s): {', '.join(missing)}"
            raise RefusalError(_error(400, "rest_missing_callback_param", message, params=missing))
        hook = self._make_webhook(_hook_fields(sent))
        # The ping goes out whatever comes of it; this answer does not tell.
        self.world.later(0.0, lambda: self._ping(hook.id))
        return Answer(201, self._shown_webhook(hook))

    def get_webhook(self, call: Call) -> Answer:
        return Answer(200, self._shown_webhook(self._webhook(call, 404)))

    def update_webhook(self, call: Call) -> Answer:
        hook = self._webhook(call, 400)
        changed = _hook_fields(_body(call))
        for name, value in changed.items():
            setattr(hook, name, value)
        hook.modified = self._now()
        return Answer(200, self._shown_webhook(hook))

    def delete_webhook(self, call: Call) -> Answer:
        if not Query(call).flag("force"):
            raise RefusalError(_error(501, "woocommerce_rest_trash_not_supported", "Webhooks have no trash."))
        hook = self._webhook(call, 404)
        del self.webhooks[hook.id]
        return Answer(200, self._shown_webhook(hook))

    def _webhook(self, call: Call, status: int) -> Webhook:
        hook = self.webhooks.get(int(call.ids["id"]))
        if hook is None:
            raise RefusalError(_error(status, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID."))
        return hook

    def _make_webhook(self, given: Mapping[str, str]) -> Webhook:
        id, now = max(self.webhooks, default=10) + 1, self._now()
        secret = given.get("secret") or self.mint(length=50)
        hook = Webhook(id, f"Webhook {id}", given["topic"], given["delivery_url"], secret, now, now)
        hook.name, hook.status = given.get("name", hook.name), given.get("status", hook.status)
        self.webhooks[id] = hook
        return hook

    def _ping(self, id: int) -> None:
        hook = self.webhooks.get(id)
        if hook is not None:
            event = self.event_for("ping", str(id))
            hook.ping_status = self.world.webhooks.send_now(self.name, event, hook.delivery_url, hook.secret)

    def _deliver(self, id: int, event: Event) -> None:
        """One attempt in the background, and never another; the lock is not held while the receiver thinks."""
        hook = self.webhooks.get(id)
        if hook is None:
            return
        status = self.world.webhooks.send_now(self.name, event, hook.delivery_url, hook.secret)
        with self.lock:
            if 200 <= status < 303:
                hook.failures = 0
            elif hook.failures >= FAILURES_BORNE:
                hook.status = "disabled"
            else:
                hook.failures += 1

    def emit(self, event: Event) -> None:
        """To the shop's own webhooks of that topic, and to whoever subscribed at the controls."""
        for hook in self.webhooks.values():
            if hook.status == "active" and hook.topic == event.topic:
                self.world.later(0.0, functools.partial(self._deliver, hook.id, event))
        # The controls let a subscription try again by default, and this vendor never does: their table is the only
        # place where that can be taken back.
        subscription = self.world.webhooks._subscriptions.get(self.name)
        if subscription is None or (event.topic not in _TOPICS and event.topic not in subscription.topics):
            return
        if subscription.retry_waits_s:
            self.world.webhooks.subscribe(self.name, replace(subscription, retry_waits_s=()))
        super().emit(event)

    def _event(self, topic: str, body: Record) -> Event:
        # Written the way PHP writes JSON: ASCII, no blanks, slashes escaped. Whoever signs its own rendering fails.
        text = json.dumps(body, separators=(",", ":")).replace("/", "\\/")
        return Event(self.mint(length=32), topic, text.encode())

    def event_for(self, topic: str, object_id: str) -> Event:
        """Topics: `order.created`, `.updated`, `.deleted`, `.restored`, `action.<hook>` about an order; `ping` about a webhook."""
        number = int(object_id) if str(object_id).isdecimal() else -1
        if topic == "ping" and number in self.webhooks:
            return Event(self.mint(length=32), topic, f"webhook_id={number}".encode())
        order = self.orders.get(number)
        if order is None:
            raise NoSuchObjectError(f"the practice WooCommerce has no order {object_id!r}")
        match topic.partition("."):
            case ("order", _, "deleted"):
                return self._event(topic, {"id": number})
            case ("order", _, "created" | "updated" | "restored"):
                return self._event(topic, self._shown(order, self.settings.price_decimals))
            case ("action", _, str(hook)) if hook:
                return self._event(topic, {"action": hook, "arg": number})
            case _:
                raise NoSuchObjectError(f"the practice WooCommerce has no topic {topic!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:
        """`X-WC-Webhook-Signature`: base64 of HMAC-SHA256 over the raw body, keyed with the secret, entities decoded; a ping has none."""
        body = event.payload
        agent = {"User-Agent": f"WooCommerce/{VERSION} Hookshot (practice)"}
        if event.topic == "ping":
            return Delivery({"Content-Type": "application/x-www-form-urlencoded", **agent}, body)
        key = _ENTITY.sub(
            lambda found: _ENTITIES[(found[1] or found[2] or found[3]).lower()], secret
        ).encode()
        hook = next((each.id for each in list(self.webhooks.values()) if each.delivery_url == url), 1)
        # The same for two deliveries of one webhook within one second.
        delivery = hashlib.sha256(f"{hook}{int(self.world.clock().timestamp())}".encode()).hexdigest()[:32]
        resource, _, name = event.topic.partition(".")
        headers = {
            "Content-Type": "application/json",
            **agent,
            "X-WC-Webhook-Source": SITE,
            "X-WC-Webhook-Topic": event.topic,
            "X-WC-Webhook-Resource": resource,
            "X-WC-Webhook-Event": name,
            "X-WC-Webhook-Signature": base64.b64encode(hmac.digest(key, body, "sha256")).decode(),
            "X-WC-Webhook-ID": str(hook),
            "X-WC-Webhook-Delivery-ID": delivery,
        }
        return Delivery(headers, body)

    # ------------------------------------------------------------ what is shown

    def _places(self, query: Query) -> int:
        places = query.whole("dp", self.settings.price_decimals, 0, 12)
        query.check()
        return places

    def _times(self, name: str, moment: datetime | None) -> Record:
        if moment is None:
            return {name: None, f"{name}_gmt": None}
        here, gmt = (self._column(moment, is_gmt).isoformat(timespec="seconds") for is_gmt in (False, True))
        return {name: here, f"{name}_gmt": gmt}

    def _shown(self, order: Order, places: int) -> Record:
        def text(minor: int) -> str:
            return _text(minor, order.currency, places)

        lines, shipping = order.of("line_items"), order.of("shipping_lines")
        tax = sum(each.tax for each in order.items)
        shipping_tax = sum(each.tax for each in shipping)
        return {
            "id": order.id,
            "parent_id": 0,
            "number": order.number,
            "order_key": order.key,
            "created_via": "checkout",
            "version": VERSION,
            "status": order.status,
            "currency": order.currency,
            **self._times("date_created", order.created),
            **self._times("date_modified", order.modified),
            "discount_total": text(sum(each.subtotal - each.total for each in lines)),
            "shipping_total": text(sum(each.total for each in shipping)),
            "shipping_tax": text(shipping_tax),
            "cart_tax": text(tax - shipping_tax),
            "total": text(order.total),
            "total_tax": text(tax),
            "prices_include_tax": False,
            "customer_id": 0,
            "customer_note": order.note,
            "billing": dict(order.billing),
            "payment_method": order.payment.gateway,
            "payment_method_title": order.payment.title,
            "transaction_id": order.payment.transaction_id,
            **self._times("date_paid", order.paid),
            **self._times("date_completed", order.completed),
            "meta_data": [dict(each) for each in order.meta],
            **{
                kind: [_shown_item(each, text) for each in order.of(kind)]
                for kind in ("line_items", "shipping_lines", "fee_lines")
            },
            "refunds": [
                {"id": each.id, "reason": each.reason, "total": f"-{text(each.amount)}"}
                for each in reversed(order.refunds)
            ],
        }

    def _shown_refund(self, order: Order, refund: Refund, places: int) -> Record:
        def text(minor: int) -> str:
            return _text(minor, order.currency, places)

        lists: dict[str, list[Record]] = {"line_items": [], "shipping_lines": [], "fee_lines": []}
        for each in refund.items:
            back = replace(each.item, id=each.id, quantity=-each.quantity, total=-each.total)
            back.subtotal = back.total
            shown = _shown_item(back, text, {rate: -tax for rate, tax in each.taxes.items()})
            shown["meta_data"] = [{"id": each.id, "key": "_refunded_item_id", "value": str(each.item.id)}]
            lists[each.item.kind].append(shown)
        return {
            "id": refund.id,
            **self._times("date_created", refund.created),
            "amount": text(refund.amount),
            "reason": refund.reason,
            "refunded_by": 1,
            "refunded_payment": refund.is_paid,
            "meta_data": [dict(each) for each in refund.meta],
            **lists,
        }

    def _shown_webhook(self, hook: Webhook) -> Record:
        resource, _, event = hook.topic.partition(".")
        return {
            "id": hook.id,
            "name": hook.name,
            "status": hook.status,
            "topic": hook.topic,
            "resource": resource,
            "event": event,
            "hooks": [event] if resource == "action" else [],
            "delivery_url": hook.delivery_url,
            **self._times("date_created", hook.created),
            **self._times("date_modified", hook.modified),
        }

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        self.settings = replace(self.settings, **data.get("settings", {}))
        for key in data.get("keys", []):
            self.keys[key["key"]] = ApiKey(key["secret"], key.get("permissions", "read_write"))
        return {
            "products": [_shown_product(self._seed_product(each)) for each in data.get("products", [])],
            "webhooks": [self._shown_webhook(self._make_webhook(each)) for each in data.get("webhooks", [])],
            "orders": [self._seed_order(each) for each in data.get("orders", [])],
        }

    def _seed_product(self, described: Record) -> Product:
        """A product by its SKU or id: the one that is there already, with its stock changed where given, or a new one."""
        sku = described.get("sku", "")
        known = next((each for each in self.products.values() if sku and each.sku == sku), None)
        product = self.products.get(described.get("id", 0), known)
        if product is None:
            title = str(described.get("title") or sku or "Practice product")
            stock = described.get("stock", 100) if described.get("manages_stock", True) else None
            id = self._fresh(described.get("id"))
            product = self.products[id] = Product(id, sku, title, stock, described.get("parent_id", 0))
        elif "stock" in described and product.stock is not None:
            product.stock = described["stock"]
        return product

    def _seed_order(self, described: Record) -> Record:
        _know(described, _ORDER_NAMES, "an order")
        if not described.get("lines"):
            raise ValueError("an order needs lines")
        items = [self._seed_line(each) for each in described["lines"]]
        if "shipping_minor" in described:
            minor, tax = described["shipping_minor"], described.get("shipping_tax_minor", 0)
            items.append(Item(self._fresh_item(), "shipping_lines", "Flat rate", minor, tax))
        for each in described.get("fees", []):
            id, title, tax = each.get("id"), each.get("title", "Fee"), each.get("tax_minor", 0)
            items.append(Item(self._fresh_item(id), "fee_lines", title, each["total_minor"], tax))
        total = sum(each.total + each.tax for each in items)
        payment = _seed_payment(described.get("payments"), total, self.mint)
        created = _read_moment(described.get("created"), self._now() - timedelta(days=1))
        id = self._fresh(described.get("id"))
        order = Order(
            id,
            str(described.get("number", id)),
            self.mint("wc_order_", 13),
            described.get("status", ""),
            described.get("currency", "EUR").upper(),
            created,
            _read_moment(described.get("modified"), created),
            payment,
            {name: described.get(name, usual) for name, usual in _CUSTOMER.items()},
            described.get("note", ""),
            paid=created if payment.status == "captured" else None,
            items=items,
        )
        self._write_meta(order.meta, described.get("meta", {}))
        for each in described.get("refunds", []):
            reason, is_paid = each.get("reason", ""), each.get("api_refund", False)
            refund = Refund(self._fresh(each.get("id")), created, each["amount_minor"], reason, is_paid)
            self._write_meta(refund.meta, each.get("meta", {}))
            order.refunds.append(refund)
            payment.refunded += refund.amount if is_paid else 0
        order.status = order.status or _likely_status(order, described["lines"])
        if order.status not in (*_STATUSES, "trash"):
            raise ValueError(f"an order is never {order.status!r}")
        order.completed = order.modified if order.status == "completed" else None
        # What the order took before the rehearsal began: noted on its lines, and gone from the stock already.
        order.is_stock_reduced = order.status in (*_TAKES_STOCK, "refunded")
        for item, line in zip(order.of("line_items"), described["lines"], strict=True):
            is_usual = order.is_stock_reduced and item.product.stock is not None
            item.reduced = line.get("reduced", item.quantity if is_usual else 0) or None
        order.is_stock_reduced |= any(item.reduced for item in order.items)
        self.orders[order.id] = order
        return self._summary(order)

    def _seed_line(self, described: Record) -> Item:
        _know(described, _LINE_NAMES, "a line")
        product_id, variation_id = described.get("product_id"), described.get("variation_id")
        wanted: Record = {
            name: described[name] for name in ("sku", "title", "stock", "manages_stock") if name in described
        }
        if variation_id is not None:
            wanted |= {"id": variation_id, "parent_id": product_id or self._fresh()}
        elif product_id is not None:
            wanted["id"] = product_id
        product = self._seed_product(wanted)
        title, quantity = described.get("title", product.title), described.get("quantity", 1)
        subtotal = described["unit_minor"] * quantity
        total, tax = subtotal - described.get("discount_minor", 0), described.get("tax_minor", 0)
        id = self._fresh_item(described.get("id"))
        return Item(id, "line_items", title, total, tax, subtotal, quantity, product)

    def settle(self, data: Record) -> Record:
        match data:
            case {"order": id, "status": str(status)} if status in _STATUSES:
                order = self._known(id)
                self._move(order, status, {}, "admin")
                self._saved(order)
                return self._summary(order)
            case {"order": id, "payment": "captured" | "released" as status}:
                return self._settle_payment(self._known(id), status)
            case {"order": id, "admin_refund": {"amount_minor": int(minor)} as described}:
                return self._settle_refund(self._known(id), minor, described)
            case {"order": id, "deleted": bool(is_deleted)}:
                return self._settle_trash(self._known(id), is_deleted)
            case {"refund": id, "status": "succeeded" | "failed" as status}:
                for order in self.orders.values():
                    for refund in order.refunds:
                        if str(refund.id) == str(id):
                            return self._settle_money(order, refund, status)
                raise NoSuchObjectError(f"the practice WooCommerce has no refund {id!r}")
            case {"refund": id, "deleted": True}:
                for order in self.orders.values():
                    for refund in order.refunds:
                        if str(refund.id) == str(id):
                            self._drop_refund(order, refund, "admin")
                            return self._summary(order)
                raise NoSuchObjectError(f"the practice WooCommerce has no refund {id!r}")
            case {"sku": str(sku)}:
                product = next((each for each in self.products.values() if each.sku == sku), None)
                if product is None:
                    raise NoSuchObjectError(f"the practice WooCommerce has no SKU {sku!r}")
                product.stock = data.get("stock", product.stock)
                return _shown_product(product)
            case {"webhook": int(id)} if id in self.webhooks:
                hook = self.webhooks[id]
                return {"id": id, "status": hook.status, "failures": hook.failures, "ping": hook.ping_status}
            case _:
                raise ValueError(
                    "settle what? an order, a refund, a sku or a webhook; see the module's docstring"
                )

    def _settle_payment(self, order: Order, status: str) -> Record:
        if order.payment.status != "authorised":
            raise ValueError(f"a payment that is {order.payment.status} cannot be {status}")
        if status == "released":
            self._release(order, {}, "admin")
        else:
            order.payment.status = "captured"
            order.paid = self._now()
        self._saved(order)
        return self._summary(order)

    def _settle_refund(self, order: Order, minor: int, described: Record) -> Record:
        if not 0 < minor <= order.remaining:
            raise ValueError(f"{order.remaining} are left to refund, not {minor}")
        lines = {each["id"]: {"quantity": each["quantity"]} for each in described.get("lines", [])}
        moves_money = described.get("api_refund", False)
        wish = Wish(minor, described.get("reason", ""), {}, moves_money, bool(lines), lines)
        try:
            self._refund(order, wish, order.remaining, "admin", None)
        except RefusalError as refused:
            raise ValueError(refused.answer.body["message"]) from None
        return self._summary(order)

    def _settle_trash(self, order: Order, is_deleted: bool) -> Record:
        if is_deleted == (order.status == "trash"):
            raise ValueError(f"an order that is {order.status} cannot be moved so")
        if is_deleted:
            order.status_before_trash, order.status = order.status, "trash"
        else:
            order.status = order.status_before_trash or "pending"
        order.modified = self._now()
        self.emit(self.event_for("order.deleted" if is_deleted else "order.restored", str(order.id)))
        return self._summary(order)

    def _settle_money(self, order: Order, refund: Refund, status: str) -> Record:
        if not refund.is_on_its_way:
            raise ValueError(f"the money of refund {refund.id} is not on its way")
        if status == "failed":
            return self._fail_refund(order, refund)
        refund.is_on_its_way = False
        self._book_refund("refund", order, refund, "gateway")
        return self._shown_refund(order, refund, self.settings.price_decimals)

    def _known(self, id: Any) -> Order:
        order = self.orders.get(int(id) if str(id).isdecimal() else -1)
        if order is None:
            raise NoSuchObjectError(f"the practice WooCommerce has no order {id!r}")
        return order

    def _summary(self, order: Order) -> Record:
        return {
            "id": order.id,
            "number": order.number,
            "status": order.status,
            "currency": order.currency,
            "total_minor": order.total,
            "remaining_minor": order.remaining,
            "payment": order.payment.status,
            "transaction_id": order.payment.transaction_id,
            "lines": [
                {
                    "id": each.id,
                    "sku": each.product.sku,
                    "product_id": each.product.id,
                    "stock": each.product.stock,
                    "reduced": each.reduced,
                }
                for each in order.of("line_items")
            ],
            "shipping": [each.id for each in order.of("shipping_lines")],
            "fees": [each.id for each in order.of("fee_lines")],
            "refunds": [each.id for each in order.refunds],
        }

    # ------------------------------------------------------------ ids, times, meta

    def _now(self) -> datetime:
        return self.world.clock().astimezone(UTC).replace(microsecond=0)

    def _fresh(self, wanted: int | None = None) -> int:
        taken = {*self.orders, *self.products, *(r.id for each in self.orders.values() for r in each.refunds)}
        if wanted is not None and (not _is_whole(wanted) or wanted in taken):
            raise ValueError(f"{wanted!r} is no free id; ids are whole numbers")
        return wanted if wanted is not None else next(id for id in self._ids if id not in taken)

    def _fresh_item(self, wanted: int | None = None) -> int:
        taken = {item.id for order in self.orders.values() for item in order.items}
        if wanted in taken:
            raise ValueError(f"there is a line {wanted} already")
        return wanted if wanted is not None else next(id for id in self._item_ids if id not in taken)

    def _write_meta(self, kept: list[Record], meta: Mapping[str, Any]) -> None:
        for key, value in meta.items():
            for each in kept:
                if each["key"] == key:
                    each["value"] = value
                    break
            else:
                kept.append({"id": next(self._meta_ids), "key": key, "value": value})


# ---------------------------------------------------------------- reading what was sent


class Query:
    """A request's query parameters, read one by one; what is wrong is collected and told together by `check`."""

    def __init__(self, call: Call) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in call.query_pairs:
            self._values.setdefault(re.sub(r"\[\d*\]$", "", name), []).append(value)
        self.problems: dict[str, str] = {}

    def text(self, name: str) -> str:
        return self._values.get(name, [""])[-1]

    def many(self, name: str) -> list[str]:
        """Values given repeatedly (`status[]=a&status[]=b`) or with commas."""
        given = [part.strip() for value in self._values.get(name, []) for part in value.split(",")]
        return [part for part in given if part]

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        text = self.text(name)
        if not text:
            return default
        if not text.isdecimal() or not low <= int(text) <= high:
            self.problems[name] = f"{name} must be between {low} and {high}"
            return default
        return int(text)

    def one_of(self, name: str, options: Sequence[str]) -> str:
        """One of the options; the first is the default."""
        text = self.text(name) or options[0]
        if text not in options:
            self.problems[name] = f"{name} is not one of {', '.join(options)}."
        return text

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self.text(name).lower()
        if text not in ("", "0", "1", "false", "true"):
            self.problems[name] = f"{name} is not of type boolean."
        return text in ("1", "true") if text else default

    def moment(self, name: str) -> datetime | None:
        if not (text := self.text(name)):
            return None
        try:
            if _MOMENT.fullmatch(text):
                return datetime.fromisoformat(text)
        except ValueError:
            pass
        self.problems[name] = "Invalid date."
        return None

    def check(self) -> None:
        _check(self.problems)

    def page(self, found: Sequence[Any], show: Callable[[Any], Record]) -> Answer:
        """The page asked for, with the counts in its headers; beyond the last one it is empty."""
        size, number = self.whole("per_page", 10, 1, 100), self.whole("page", 1, 1, 10**9)
        start = self.whole("offset", (number - 1) * size, 0, 10**9)
        self.check()
        headers = {"X-WP-Total": str(len(found)), "X-WP-TotalPages": str(-(-len(found) // size))}
        return Answer(200, [show(each) for each in found[start : start + size]], headers)


def _error(status: int, code: str, message: str, **data: Any) -> Answer:
    return Answer(status, {"code": code, "message": message, "data": {"status": status, **data}})


def _check(problems: Mapping[str, str]) -> None:
    if problems:
        message = f"Invalid parameter(s): {', '.join(problems)}"
        raise RefusalError(_error(400, "rest_invalid_param", message, params=dict(problems), details={}))


def _body(call: Call) -> Record:
    """The parameters of a write: the query's, overridden by the body's where its content type says how to read it."""
    sent: Record = dict(call.query_pairs)
    match call.content_type:
        case "application/json" if call.body:
            if call.json is None and call.body.strip() != b"null":
                message = "The JSON body of this request is not valid."
                raise RefusalError(_error(400, "rest_invalid_json", message, json_error_code=4))
            return sent | call.json if isinstance(call.json, dict) else sent
        case "application/x-www-form-urlencoded":
            return sent | dict(call.form_pairs)
        case _:
            return sent


def _switch(sent: Record, name: str, problems: dict[str, str]) -> bool:
    """A boolean that is true unless said otherwise; null says nothing."""
    match sent.get(name):
        case None:
            return True
        case bool(value):
            return value
        case str(text) if text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        case int(number) if number in (0, 1):
            return number == 1
        case _:
            problems[name] = f"{name} is not of type boolean."
            return True


def _meta(sent: Record, problems: dict[str, str]) -> Record:
    found = sent.get("meta_data")
    if found is None:
        return {}
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and isinstance(each.get("key"), str) and "value" in each for each in found
    ):
        problems["meta_data"] = "meta_data is not a list of objects with key and value."
        return {}
    return {each["key"]: each["value"] for each in found}


def _refund_lines(sent: Record, problems: dict[str, str]) -> dict[int, Record]:
    """Lines by the id given, amounts as Decimals. One line without an id, and the whole list means nothing."""
    found = sent.get("line_items") or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        problems["line_items"] = "line_items is not a list of objects."
        return {}
    if not all(_is_whole(each.get("id")) for each in found):
        return {}
    lines: dict[int, Record] = {}
    for place, each in enumerate(found):
        quantity, total, taxes = each.get("quantity"), each.get("refund_total"), each.get("refund_tax") or []
        wrong = [
            name
            for name, is_right in (
                ("quantity", quantity is None or (_is_whole(quantity) and quantity >= 0)),
                ("refund_total", total is None or _is_number(total)),
                ("refund_tax", isinstance(taxes, list) and all(map(_is_tax, taxes))),
            )
            if not is_right
        ]
        if wrong:
            problems |= {f"line_items[{place}][{name}]": f"{name} has the wrong type." for name in wrong}
            continue
        line: Record = {"quantity": quantity or 0}
        if total is not None:
            line["refund_total"] = Decimal(str(total))
        line["refund_tax"] = {tax["id"]: Decimal(str(tax["refund_total"])) for tax in taxes}
        lines[each["id"]] = line
    return lines


def _amount_of(text: str | None, lines: Mapping[int, Record]) -> Decimal | None:
    """The amount asked for; None where it is no number. Where missing it is the lines' sum, their ids unlooked at, else nothing."""
    if text is None:
        if not all("refund_total" in line for line in lines.values()):
            return Decimal(0)
        parts = (line["refund_total"] + sum(line["refund_tax"].values()) for line in lines.values())
        return sum(parts, Decimal(0))
    try:
        amount = Decimal(text or "0")
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def _hook_fields(sent: Record) -> dict[str, str]:
    """The fields of a webhook that were sent, checked. What is sent empty counts as not sent."""
    names = ("name", "topic", "delivery_url", "secret", "status")
    given = {name: sent[name] for name in names if sent.get(name)}
    _check({name: f"{name} is no text." for name, value in given.items() if not isinstance(value, str)})
    for name, usual, pattern in (
        ("topic", _TOPICS[0], rf"{'|'.join(map(re.escape, _TOPICS))}|action\.\w[\w-]*"),
        ("delivery_url", SITE, r"https?://\S+"),
        ("status", "active", "active|paused|disabled"),
    ):
        if not re.fullmatch(pattern, given.get(name, usual)):
            code = f"woocommerce_rest_shop_webhook_invalid_{name}"
            raise RefusalError(_error(400, code, f"This {name} is not valid."))
    return given


def _crash(call: Call | None) -> str:
    """Where the act breaks off, for faults that let it happen at all."""
    if call is None or not any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.LOST_REPLY)):
        return ""
    return call.fault.code if call.fault is not None else ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_tax(value: Any) -> bool:
    return isinstance(value, dict) and _is_whole(value.get("id")) and _is_number(value.get("refund_total"))


# ---------------------------------------------------------------- reading what is seeded


def _know(described: Record, names: str, what: str) -> None:
    if strange := sorted(set(described) - set(names.split())):
        raise ValueError(f"{what} has no {', '.join(strange)}; it has {names.replace(' ', ', ')}")


def _read_moment(text: str | None, default: datetime) -> datetime:
    if text is None:
        return default
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _seed_payment(described: Sequence[Record] | None, total: int, mint: Callable[[str], str]) -> Payment:
    if described is not None and len(described) > 1:
        raise ValueError("an order of this shop has one payment at most")
    if described is not None and not described:
        return Payment("", "", 0, "none", "", can_refund=False)
    given = described[0] if described else {}
    _know(given, _PAYMENT_NAMES, "a payment")
    gateway, status = given.get("gateway", "stripe"), given.get("status", "captured")
    if status not in ("captured", "authorised", "none"):
        raise ValueError(f"a payment is captured, authorised or none, not {status!r}")
    has_reference = status != "none" and gateway not in _OFFLINE
    return Payment(
        gateway,
        given.get("title", gateway.title()),
        given.get("amount_minor", total),
        status,
        given.get("transaction_id", mint("ch_") if has_reference else ""),
        given.get("supports_refunds", gateway not in _OFFLINE),
        given.get("declines", False),
    )


def _likely_status(order: Order, lines: Sequence[Record]) -> str:
    if order.refunds and order.remaining <= 0:
        return "refunded"
    if order.payment.status == "none":
        return "pending"
    if order.payment.status == "authorised":
        return "on-hold"
    is_shipped = all(line.get("shipped", 0) >= line.get("quantity", 1) for line in lines)
    return "completed" if is_shipped else "processing"


# ---------------------------------------------------------------- amounts and shapes


def _major(minor: int, currency: str) -> Decimal:
    return Decimal(minor).scaleb(-exponent_of(currency))


def _minor(major: Decimal, currency: str) -> int:
    return int(major.scaleb(exponent_of(currency)).quantize(Decimal(1), ROUND_HALF_UP))


def _text(minor: int, currency: str, places: int) -> str:
    """An amount with so many places: rounded where the currency has more, filled up where it has fewer."""
    return f"{_major(minor, currency).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}"


def _searched(order: Order) -> str:
    parts = (str(order.id), order.number, *order.billing.values(), *(each.title for each in order.items))
    return "\n".join(map(str, parts)).casefold()


def _shown_item(item: Item, text: Callable[[int], str], taxes: Mapping[int, int] | None = None) -> Record:
    if taxes is None:
        taxes = {_TAX_RATE: item.tax} if item.tax else {}
    shown: Record = {
        "id": item.id,
        "total": text(item.total),
        "total_tax": text(sum(taxes.values())),
        "taxes": [{"id": rate, "total": text(tax), "subtotal": text(tax)} for rate, tax in taxes.items()],
        "meta_data": [],
    }
    if item.kind == "shipping_lines":
        return shown | {"method_title": item.title, "method_id": "flat_rate", "instance_id": "1"}
    if item.kind == "fee_lines":
        return shown | {"name": item.title, "tax_class": "", "tax_status": "taxable"}
    product = item.product
    meta = [("_reduced_stock", item.reduced), ("_restock_refunded_items", item.restocked or None)]
    price = Decimal(text(item.total)) / item.quantity if item.quantity else Decimal(0)
    return shown | {
        "name": item.title,
        "product_id": product.parent_id or product.id,
        "variation_id": product.id if product.parent_id else 0,
        "quantity": item.quantity,
        "tax_class": "",
        "subtotal": text(item.subtotal),
        "subtotal_tax": text(sum(taxes.values())),
        "sku": product.sku,
        "price": float(price),
        "meta_data": [
            {"id": item.id * 10 + place, "key": key, "value": str(value)}
            for place, (key, value) in enumerate(meta)
            if value is not None
        ],
    }


def _shown_product(product: Product) -> Record:
    return {
        "id": product.id,
        "name": product.title,
        "type": "variation" if product.parent_id else "simple",
        "sku": product.sku,
        "manage_stock": product.stock is not None,
        "stock_quantity": product.stock,
        "stock_status": "outofstock" if product.stock is not None and product.stock <= 0 else "instock",
        "parent_id": product.parent_id,
    }
