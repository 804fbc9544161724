"""A practice Magento / Adobe Commerce: REST V1 of one shop under `/magento/rest[/{store}]/V1/`, with its gateway and its stock.

Version 2.4.9 (AdobeDocs/commerce-webapi `admin-schema-2.4.9.yaml` of 2026-08-05, its pages on orders, refunds and authentication,
and the behaviour of the public magento/magento2 and magento/inventory sources; read 2026-11-23).

Strict about who calls: OAuth 1.0a HMAC-SHA256 is verified over the URL that was called (`base_url`, else what `Host` says plus
`/magento`, as http or https), nonces count once per consumer even where the signature was wrong, timestamps stay within ten
minutes. The integration's token alone is a bearer only where the merchant allows it; admin tokens live four hours. Strict about
JSON bodies, types, states, quantities left, shipping left and money left.

Traps kept: `cancel` answers 200 `false` for whatever it does not do, and `true` also where only the part without an invoice went;
an unknown name at the top of a body is ignored, so a misspelt `isOnline` books offline; ids that are not in the order are ignored;
an empty `items` refunds everything and a missing `shipping_amount` all shipping that is left; too large a quantity is cut down on
an invoice but refused on an order; shipping left behind once all items are refunded cannot be refunded any more; a page behind the
last one is the last one again; a sort without direction is descending; what has no value yet is absent (`total_paid`,
`total_refunded`); amounts in `arguments` are in the base currency. Refunds have no idempotency of any kind. Nothing is
asynchronous here, so slow_pending and late_failure change nothing.

`refuse` on a refund: code "could_not_refund" lets the gateway pay, rolls the credit memo back and says that it could not be saved;
"gateway_declined" says the very same and pays nothing; "invalid_quantity" and no code are validation errors. On `cancel_order` no
code answers `false`, "void_failed" is a 400. Elsewhere it is a 400.

Credentials: the constants below. `seed({"settings"?: {…}, "stock"?: {sku: salable}, "orders": [{"id"?, "number"?, "state"?, "status"?,
"currency"? (EUR), "base_currency"?, "base_to_order_rate"? ("1"), "email"?, "firstname"?, "lastname"?, "created_at"?, "updated_at"?,
"lines": [{"id"?, "sku", "title"?, "quantity", "unit_minor", "tax_minor"?, "discount_minor"? (of the row), "shipped"?, "stock"? (salable
now, 10), "type"? ("simple", "virtual" or "configurable", which adds its child)}], "shipping_minor"?, "shipping_tax_minor"?, "payments"?:
[{"gateway"?, "amount_minor"?, "is_captured"? (true), "transaction_id"?, "is_online"?, "can_void"?, "is_partly_refundable"?}] (one at most),
"invoices"?: [{"id"?, "lines"?: {sku: quantity}, "shipping_minor"?, "transaction_id"?, "can_void"?}] (captured: one for everything),
"comments"?: [text], "refunds"?: [a body of the refund call, "is_online"?]}]})` returns the settings, and of every order the ids, state,
transaction and stock. Settings are the fields of `Settings`.

`settle` takes one of `{"order": id or number, "ship": "all" | {sku: quantity}}`, `{"order", "invoice": "all"}` (a capture by hand),
`{"order", "state", "status"?}`, `{"order", "admin_cancel": true}`, `{"order", "admin_refund": {a body, "is_online"?}}` (a person in the admin),
`{"order"}` (looks only) and `{"sku", "stock"?}`; it returns the order as `seed` does, or the stock.

Events leave only editions "commerce" and "accs", as Adobe I/O Events: a subscription's secret is the client id that it names as
recipient, its signatures are RSA with SHA-256 under two practice keys, served at `/prod/keys/…`. Adobe's challenge is not practised.
"""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import hmac
import json
import operator
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import quote, unquote

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

CONSUMER_KEY: Final = "practice-magento-consumer-key"
CONSUMER_SECRET: Final = "practice-magento-consumer-secret"  # noqa: S105 (practice secrets, known to everybody)
ACCESS_TOKEN: Final = "practice-magento-access-token"  # noqa: S105 (a practice secret, known to everybody)
ACCESS_TOKEN_SECRET: Final = "practice-magento-access-token-secret"  # noqa: S105 (a practice secret, known to everybody)
ADMIN_USER: Final = "practice-admin"
ADMIN_PASSWORD: Final = "practice-admin-1"  # noqa: S105 (a practice secret, known to everybody)
IMS_CLIENT_ID: Final = "practice-ims-client"
IMS_CLIENT_SECRET: Final = "practice-ims-secret"  # noqa: S105 (a practice secret, known to everybody)
IMS_ORG_ID: Final = "PRACTICE@AdobeOrg"
ADMIN_TOKEN_LIFE: Final = timedelta(hours=4)
IMS_TOKEN_LIFE: Final = timedelta(seconds=86_399)
CLOCK_SKEW_S: Final = 600
# Nonces are cleared away after two hours; a timestamp is refused long before.
NONCE_LIFE: Final = timedelta(hours=2)
DEFAULT_PAGE_SIZE: Final = 20

_STATUS: Final = {
    "new": "pending",
    "pending_payment": "pending_payment",
    "processing": "processing",
    "holded": "holded",
    "payment_review": "payment_review",
    "complete": "complete",
    "closed": "closed",
    "canceled": "canceled",
}
_OFFLINE_METHODS: Final = ("checkmo", "banktransfer", "cashondelivery", "purchaseorder", "free")
_RESOURCES: Final = {
    "cancel_order": "Magento_Sales::cancel",
    "hold_order": "Magento_Sales::hold",
    "unhold_order": "Magento_Sales::unhold",
    "comment_order": "Magento_Sales::comment",
    "list_invoices": "Magento_Sales::sales_invoice",
    "get_invoice": "Magento_Sales::sales_invoice",
    "void_invoice": "Magento_Sales::sales_invoice",
    "refund_invoice": "Magento_Sales::creditmemo",
    "refund_order": "Magento_Sales::creditmemo",
    "list_creditmemos": "Magento_Sales::creditmemo",
    "get_creditmemo": "Magento_Sales::creditmemo",
    "list_transactions": "Magento_Sales::transactions",
    "list_source_items": "Magento_InventoryApi::source",
    "get_salable_quantity": "Magento_InventoryApi::source",
}
_OAUTH_NEEDED: Final = (
    *("oauth_consumer_key", "oauth_signature", "oauth_signature_method"),
    *("oauth_nonce", "oauth_timestamp", "oauth_token"),
)
_SCHEMES: Final = (("http", ":80"), ("https", ":443"))
_EVENTS: Final = "com.adobe.commerce."
_ORDER_SAVED: Final = "observer.sales_order_save_after"
_MEMO_SAVED: Final = "observer.sales_order_creditmemo_save_after"
_FLAGS: Final = ("is_customer_notified", "is_visible_on_front")
_GONE: Final = "The entity that was requested doesn't exist. Verify the entity and try again."
_NOT_SAVED: Final = "Could not save a Creditmemo, see error log for details"
_REQUIRED: Final = '"%fieldName" is required. Enter and try again.'
_SHAPES: Final[Mapping[str, tuple[str, ...]]] = {
    "items": ("order_item_id", "qty", "extension_attributes"),
    "comment": ("comment", "is_visible_on_front", "extension_attributes"),
    "arguments": ("shipping_amount", "adjustment_positive", "adjustment_negative", "extension_attributes"),
    "extension_attributes": ("return_to_stock_items",),
    "status_history": (
        *("comment", "created_at", "entity_id", "entity_name", "is_customer_notified"),
        *("is_visible_on_front", "parent_id", "status", "extension_attributes"),
    ),
}
_TIME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[ T](\d{2}:\d{2}:\d{2}))?")
_COMPARISONS: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "lt": operator.lt,
    **dict.fromkeys(("gteq", "moreq", "from"), operator.ge),
    **dict.fromkeys(("lteq", "to"), operator.le),
}
# Distances from a hash to the primes of the two practice keys: the keys are made from them, so that none lies in the source.
_PRIMES: Final = {1: (198, 694), 2: (1078, 706)}
_EXPONENT: Final = 65_537
_SHA256_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(slots=True)
class Settings:
    """How this shop is set up, and which reading of the vendor is practised where it does not say.

    `edition`: "open_source", "commerce" or "accs" (no `/rest`, IMS tokens). `bearer`: integration tokens alone are taken.
    `two_factor`: admin tokens are not given out. `base_url`: the address that callers sign. `resources`: None for all.
    `page_size_cap`: 0 for none. `comment_status`: what a comment with another status does ("changes" or "refused"); in
    the first case a missing one leaves the order without status. `keeps_every_comment`: without `appendComment` too.
    `caps_quantities`: whether an invoice's refund cuts too large a quantity down. `statuses`: the merchant's own.
    """

    edition: str = "open_source"
    bearer: bool = False
    two_factor: bool = True
    base_url: str = ""
    stores: tuple[str, ...] = ("default", "all")
    resources: tuple[str, ...] | None = None
    page_size_cap: int = 0
    repeats_last_page: bool = True
    is_empty_everything: bool = True
    keeps_every_comment: bool = False
    comment_status: str = "changes"
    statuses: tuple[str, ...] = ()
    caps_quantities: bool = True
    refuses_old_timestamps: bool = True


@dataclass(slots=True)
class _Item:
    """One order line. Amounts of the whole row in minor units; a child of a configurable product only mirrors its parent."""

    item_id: int
    sku: str
    title: str
    ordered: int
    unit: int
    tax: int
    discount: int
    type: str = "simple"
    parent_id: int | None = None
    shipped: int = 0
    invoiced: int = 0
    canceled: int = 0
    refunded: int = 0

    @property
    def to_invoice(self) -> int:
        return max(self.ordered - self.invoiced - self.canceled, 0)

    @property
    def to_ship(self) -> int:
        if self.type == "virtual":
            return 0
        return max(self.ordered - self.shipped - self.refunded - self.canceled, 0)

    @property
    def to_refund(self) -> int:
        return max(self.invoiced - self.refunded, 0)

    @property
    def to_cancel(self) -> int:
        return self.to_invoice if self.type == "virtual" else min(self.to_invoice, self.to_ship)

    def amounts(self, before: int, quantity: int) -> tuple[int, int, int]:
        """Subtotal, tax and discount of `quantity` units after `before` others; the parts of a row sum to the row."""
        tax, discount = (
            _share(total, before + quantity, self.ordered) - _share(total, before, self.ordered)
            for total in (self.tax, self.discount)
        )
        return self.unit * quantity, tax, discount


@dataclass(slots=True)
class _Document:
    """An invoice or a credit memo: `parts` has quantity, subtotal, tax and discount by order line."""

    entity_id: int
    number: str
    order_id: int
    parts: dict[int, tuple[int, int, int, int]]
    shipping: int
    shipping_tax: int
    created: datetime
    updated: datetime
    state: int = 2
    transaction_id: str | None = None
    invoice_id: int | None = None
    can_void: bool = False
    adjustment_positive: int = 0
    adjustment_negative: int = 0
    refunded: int = 0
    is_used: bool = False
    comments: list[Record] = field(default_factory=list)

    def total(self, column: int) -> int:
        return sum(part[column] for part in self.parts.values())

    @property
    def grand_total(self) -> int:
        goods = self.total(1) + self.total(2) - self.total(3)
        extra = self.adjustment_positive - self.adjustment_negative
        return goods + self.shipping + self.shipping_tax + extra


@dataclass(slots=True)
class _Payment:
    method: str
    authorized: int
    transaction_id: str | None
    is_online: bool
    can_void: bool
    is_partly_refundable: bool
    last_transaction: str | None
    voided: int = 0
    # What the gateway itself has paid back, also where the shop rolled its own part back.
    gone: int = 0
    refunded_online: int = 0


@dataclass(slots=True)
class _Order:
    entity_id: int
    number: str
    state: str
    status: str | None
    currency: str
    base_currency: str
    rate: Decimal
    email: str
    name: tuple[str, str]
    created: datetime
    updated: datetime
    items: list[_Item]
    shipping: int
    shipping_tax: int
    payment: _Payment
    shipping_invoiced: int = 0
    shipping_refunded: int = 0
    shipping_tax_refunded: int = 0
    paid: int | None = None
    refunded: int | None = None
    refunded_offline: int | None = None
    canceled: int | None = None
    adjustment_positive: int = 0
    adjustment_negative: int = 0
    hold_before: tuple[str, str | None] | None = None
    comments: list[Record] = field(default_factory=list)

    @property
    def sold(self) -> list[_Item]:
        return [each for each in self.items if each.parent_id is None]

    @property
    def grand_total(self) -> int:
        goods = sum(each.unit * each.ordered + each.tax - each.discount for each in self.sold)
        return goods + self.shipping + self.shipping_tax

    @property
    def reference(self) -> str | None:
        """The last thing that somebody wrote on the order: where calls have no body, it is the mark they can be found by."""
        return next((each["comment"] for each in reversed(self.comments) if each["comment"]), None)

    def base(self, minor: int) -> int:
        """An amount of the order's currency in the base currency's minor units."""
        major = Decimal(minor).scaleb(-exponent_of(self.currency)) / self.rate
        return _minor(major, self.base_currency)

    def from_base(self, major: Decimal) -> int:
        """A base amount, as callers send it, in the order currency's minor units."""
        return _minor(major * self.rate, self.currency)

    def both(self, name: str, minor: int | None) -> Record:
        """An amount under its name and, in the base currency, under `base_…`."""
        if minor is None:
            return {name: None, f"base_{name}": None}
        return {
            name: _number(minor, self.currency),
            f"base_{name}": _number(self.base(minor), self.base_currency),
        }


def fail(status: int, message: str, parameters: Any = None, **more: Any) -> NoReturn:
    """Ends the call with Magento's error body: `message` keeps its placeholders, `parameters` fill them."""
    filled = {} if parameters is None else {"parameters": parameters}
    raise RefusalError(Answer(status, {"message": message, **filled, **more}))


def base_string(method: str, url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """OAuth 1.0a's signature base string (RFC 5849, 3.4.1); `url` without query, parameters decoded."""
    encoded = sorted((_encode(name), _encode(value)) for name, value in parameters)
    return "&".join((method.upper(), _encode(url), _encode("&".join(f"{n}={v}" for n, v in encoded))))


class Magento(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "magento"

    def clear(self) -> None:
        self.settings = Settings()
        self.orders: dict[int, _Order] = {}
        self.invoices: dict[int, _Document] = {}
        self.memos: dict[int, _Document] = {}
        self.transactions: dict[int, Record] = {}
        # Per SKU: units in the warehouse, and units promised to orders (negative) but not yet shipped.
        self.source: dict[str, int] = {}
        self.reservations: dict[str, int] = {}
        self._tokens: dict[str, datetime] = {}
        self._nonces: dict[str, datetime] = {}
        self._comments = 0
        self._is_history = False
        order, invoice = "/V1/orders/{id}", "/V1/invoices/{id}"
        self._routes = (
            Route("POST", "/V1/integration/admin/token", "admin_token", self.give_admin_token, is_open=True),
            Route("POST", "/ims/token/v3", "ims_token", self.give_ims_token, is_open=True),
            Route("GET", "/prod/keys/pub-key-practice-{id}.pem", "public_key", self.public_key, is_open=True),
            Route("GET", "/V1/orders", "list_orders", self._lister(self.orders, self._show_order)),
            Route("GET", order, "get_order", self._getter(self.orders, self._show_order)),
            Route("POST", f"{order}/cancel", "cancel_order", self.cancel_order),
            Route("POST", f"{order}/hold", "hold_order", self.hold_order),
            Route("POST", f"{order}/unhold", "unhold_order", self.unhold_order),
            Route("GET", f"{order}/statuses", "get_order_status", self.get_order_status),
            Route("POST", f"{order}/comments", "comment_order", self.comment_order),
            Route("GET", f"{order}/comments", "list_order_comments", self.list_order_comments),
            Route("GET", "/V1/invoices", "list_invoices", self._lister(self.invoices, self._show_invoice)),
            Route("GET", invoice, "get_invoice", self._getter(self.invoices, self._show_invoice)),
            Route("POST", f"{invoice}/void", "void_invoice", self.void_invoice),
            Route("POST", "/V1/invoice/{id}/refund", "refund_invoice", self.refund_invoice),
            Route("POST", "/V1/order/{id}/refund", "refund_order", self.refund_order),
            Route("GET", "/V1/creditmemos", "list_creditmemos", self._lister(self.memos, self._show_memo)),
            Route("GET", "/V1/creditmemo/{id}", "get_creditmemo", self._getter(self.memos, self._show_memo)),
            Route("GET", "/V1/transactions", "list_transactions", self._lister(self.transactions, dict)),
            Route("GET", "/V1/inventory/source-items", "list_source_items", self.list_source_items),
            Route(
                "GET",
                "/V1/inventory/get-product-salable-quantity/{sku}/{stock}",
                "get_salable_quantity",
                self.get_salable_quantity,
            ),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def find(self, call: Call) -> Operation:
        """`/rest`, and perhaps a store's code, stand before the route; the cloud service has neither."""
        path, is_cloud = call.path, self.settings.edition == "accs"
        if (found := re.fullmatch(r"/rest(?:/(\w+))?(/V1/.+)", path)) and not is_cloud:
            path = found[2] if found[1] in (None, *self.settings.stores) else ""
        elif path.startswith(("/V1/", "/ims/")) and not is_cloud:
            path = ""
        for route in self._routes:
            if operation := route.match(replace(call, path=path)):
                return operation
        return Operation("unknown", self.not_found, is_open=True)

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        try:
            scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
            if self.settings.edition == "accs":
                self._check_cloud_caller(call, scheme, credentials.strip())
            elif scheme.lower() == "oauth":
                self._check_signature(call, credentials)
            elif not (scheme.lower() == "bearer" and self._is_bearer(credentials.strip())):
                return self.unauthorised(call)
        except RefusalError as refused:
            return refused.answer
        allowed = self.settings.resources
        return None if allowed is None or _resource(call) in allowed else self.unauthorised(call)

    def _is_bearer(self, token: str) -> bool:
        is_integration = self.settings.bearer and hmac.compare_digest(token.encode(), ACCESS_TOKEN.encode())
        return is_integration or self._tokens.get(token, self.world.clock()) > self.world.clock()

    def _check_cloud_caller(self, call: Call, scheme: str, token: str) -> None:
        """Adobe's gateway stands in front of the shop and has error bodies of its own."""
        headers = call.headers
        if headers.get("x-api-key") != IMS_CLIENT_ID:
            raise RefusalError(
                Answer(403, {"error_code": "403000", "message": "Api Key is required or is not known"})
            )
        is_known = scheme.lower() == "bearer" and self._tokens.get(token) is not None
        if not is_known or self._tokens[token] <= self.world.clock():
            raise RefusalError(Answer(401, {"error_code": "401013", "message": "Oauth token is not valid"}))
        if headers.get("x-gw-ims-org-id") != IMS_ORG_ID:
            raise RefusalError(
                Answer(403, {"error_code": "403003", "message": "The organization is not known"})
            )

    def _check_signature(self, call: Call, credentials: str) -> None:
        sent = dict(_oauth_parameters(credentials))
        for name in _OAUTH_NEEDED:
            if not sent.get(name):
                fail(400, _REQUIRED, {"fieldName": name})
        if sent.get("oauth_version", "1.0") != "1.0":
            fail(400, 'The "%1" Oauth version isn\'t supported.', [sent["oauth_version"]])
        if sent["oauth_signature_method"] != "HMAC-SHA256":
            fail(400, "Signature method %1 is not supported", [sent["oauth_signature_method"]])
        if sent["oauth_consumer_key"] != CONSUMER_KEY:
            fail(401, "A consumer having the specified key does not exist")
        self._use_nonce(sent["oauth_nonce"], sent["oauth_timestamp"])
        if sent["oauth_token"] != ACCESS_TOKEN:
            fail(401, "Specified token does not exist")
        signed = [pair for pair in sent.items() if pair[0] != "oauth_signature"]
        key = f"{_encode(CONSUMER_SECRET)}&{_encode(ACCESS_TOKEN_SECRET)}".encode()
        for url in self._signed_urls(call):
            text = base_string(call.method, url, [*signed, *call.query_pairs])
            digest = base64.b64encode(hmac.digest(key, text.encode(), "sha256"))
            if hmac.compare_digest(digest, sent["oauth_signature"].encode()):
                return
        fail(401, "The signature is invalid. Verify and try again.")

    def _use_nonce(self, nonce: str, timestamp: str) -> None:
        now = self.world.callers_clock()
        age_s = now.timestamp() - int(timestamp) if re.fullmatch(r"\d{1,12}", timestamp) else None
        is_stale = age_s is not None and age_s > CLOCK_SKEW_S and self.settings.refuses_old_timestamps
        if age_s is None or age_s < -CLOCK_SKEW_S or is_stale or int(timestamp) == 0:
            fail(400, "Incorrect timestamp value in the oauth_timestamp parameter")
        self._nonces = {each: at for each, at in self._nonces.items() if now - at < NONCE_LIFE}
        if nonce in self._nonces:
            fail(401, "The nonce is already being used by the consumer with ID %1", [1])
        self._nonces[nonce] = now

    def _signed_urls(self, call: Call) -> list[str]:
        """What the caller may have signed: a call does not tell its scheme, and its path came here decoded."""
        host = call.headers.get("host", "localhost").lower()
        bases = [f"{scheme}://{host.removesuffix(port)}/magento" for scheme, port in _SCHEMES]
        if self.settings.base_url:
            bases = [self.settings.base_url.rstrip("/")]
        return [f"{base}{path}" for base in bases for path in {call.path, quote(call.path, safe="/~:@%")}]

    def unauthorised(self, call: Call) -> Answer:
        message = "The consumer isn't authorized to access %resources."
        return Answer(401, {"message": message, "parameters": {"resources": _resource(call)}})

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(404, {"message": "Request does not match any route."})

    def failure(self, call: Call, status: int) -> Record:
        match status:
            case 429:
                return {"message": "Too Many Requests"}
            case 503:
                return {"message": "Service Temporarily Unavailable"}
            case _ if status >= 500:
                return _internal(call)
            case _:
                return {"message": "The request cannot be processed."}

    def refuse(self, call: Call) -> Answer:
        code = _code(call)
        match call.operation, code:
            case (("refund_invoice" | "refund_order"), ("could_not_refund" | "gateway_declined")):
                return self.refund_invoice(call) if "invoice" in call.operation else self.refund_order(call)
            case (("refund_invoice" | "refund_order"), _):
                said = "We found an invalid quantity to refund item." if code == "invalid_quantity" else ""
                raise _invalid([said or "The order does not allow a creditmemo to be created."])
            case "cancel_order", "":
                return Answer(200, False)
            case "cancel_order", "void_failed":
                fail(400, "The payment gateway refused to void the authorization.")
            case _:
                fail(400, code or "The request cannot be processed.")

    def begin(self, call: Call) -> Answer | None:
        accepted = call.headers.get("accept", "*/*")
        if not any(each in accepted for each in ("*/*", "application/json", "application/*")):
            fail(406, "Server cannot match any of the given Accept HTTP header media type(s): %1", [accepted])
        return None

    def give_admin_token(self, call: Call) -> Answer:
        """A JSON string, good as a bearer for four hours; two-factor authentication, the default, prevents it."""
        body = _input(call)
        for name in ("username", "password"):
            if not isinstance(body.get(name), str):
                fail(400, _REQUIRED, {"fieldName": name})
        if (body["username"], body["password"]) != (ADMIN_USER, ADMIN_PASSWORD):
            fail(
                401,
                "The account sign-in was incorrect or your account is disabled temporarily. "
                "Please wait and try again later.",
            )
        if self.settings.two_factor:
            fail(401, "You are required to configure personal Two-Factor Authorization in order to login.")
        token = self.mint("", 32)
        self._tokens[token] = self.world.clock() + ADMIN_TOKEN_LIFE
        return Answer(200, json.dumps(token))

    def give_ims_token(self, call: Call) -> Answer:
        """Adobe's identity service: client credentials as a form, a bearer token for a day."""
        form = dict(call.form_pairs)
        if form.get("grant_type") != "client_credentials":
            raise RefusalError(Answer(400, {"error": "unsupported_grant_type"}))
        if (form.get("client_id"), form.get("client_secret")) != (IMS_CLIENT_ID, IMS_CLIENT_SECRET):
            raise RefusalError(Answer(401, {"error": "invalid_client"}))
        if "commerce.accs" not in re.split(r"[,\s]+", form.get("scope", "")):
            raise RefusalError(Answer(400, {"error": "invalid_scope"}))
        token, life = self.mint("", 48), IMS_TOKEN_LIFE
        self._tokens[token] = self.world.clock() + life
        expires_in = int(life.total_seconds())
        return Answer(200, {"access_token": token, "token_type": "bearer", "expires_in": expires_in})

    # ------------------------------------------------------------ reading

    def _one(self, found: Mapping[int, Any], id: str, name: str = "id") -> Any:
        number = _typed(id, int, name)
        if number not in found:
            fail(404, _GONE)
        return found[number]

    def _getter(self, found: Mapping[int, Any], show: Callable[[Any], Record]) -> Callable[[Call], Answer]:
        def get(call: Call) -> Answer:
            return Answer(200, _pruned(show(self._one(found, call.ids["id"]))))

        return get

    def _lister(self, found: Mapping[int, Any], show: Callable[[Any], Record]) -> Callable[[Call], Answer]:
        return lambda call: self._listed(call, [show(each) for each in found.values()])

    def _listed(self, call: Call, rows: list[Record]) -> Answer:
        """Filters, sorts and cuts a page out, as the query's search criteria say; other parameters are ignored."""
        criteria = _read_criteria(call)
        columns = {name for row in rows for name, value in row.items() if not isinstance(value, dict | list)}
        used = [each["field"] for group in criteria["filter_groups"] for each in group["filters"]]
        if rows and (set(used) | {each["field"] for each in criteria.get("sort_orders", ())}) - columns:
            # The database does not know the column, and says so to the log only.
            raise RefusalError(Answer(500, _internal(call)))
        for group in criteria["filter_groups"]:
            rows = [row for row in rows if any(_fits(row, each, call) for each in group["filters"])]
        for order in reversed(criteria.get("sort_orders", [])):
            rows.sort(key=lambda row: _sortable(row[order["field"]]), reverse=order["direction"] != "ASC")
        total = len(rows)
        size, cap = criteria.get("page_size", 0), self.settings.page_size_cap
        if cap and size > cap:
            fail(400, "Maximum SearchCriteria pageSize is %1", [cap])
        if size := size or (DEFAULT_PAGE_SIZE if cap else 0):
            page, last = max(criteria.get("current_page", 1), 1), max(-(-total // size), 1)
            page = min(page, last) if self.settings.repeats_last_page else page
            rows = rows[(page - 1) * size : page * size]
        items = [_pruned(row) for row in rows]
        return Answer(200, {"items": items, "search_criteria": criteria, "total_count": total})

    def get_order_status(self, call: Call) -> Answer:
        return Answer(200, json.dumps(self._one(self.orders, call.ids["id"]).status))

    def list_order_comments(self, call: Call) -> Answer:
        order = self._one(self.orders, call.ids["id"])
        rows = [_pruned(each) for each in order.comments]
        return Answer(
            200, {"items": rows, "search_criteria": {"filter_groups": []}, "total_count": len(rows)}
        )

    def list_source_items(self, call: Call) -> Answer:
        rows: list[Record] = [
            {"sku": sku, "source_code": "default", "quantity": quantity, "status": int(quantity > 0)}
            for sku, quantity in self.source.items()
        ]
        return self._listed(call, rows)

    def get_salable_quantity(self, call: Call) -> Answer:
        sku = unquote(call.ids["sku"])
        if _typed(call.ids["stock"], int, "stockId") != 1:
            fail(404, 'Stock with id "%value" does not exist.', {"value": call.ids["stock"]})
        if sku not in self.source:
            fail(404, "The product that was requested doesn't exist. Verify the product and try again.")
        return Answer(200, self.salable(sku))

    def salable(self, sku: str) -> int:
        """What the shop may still sell: what lies there less what is promised."""
        return self.source.get(sku, 0) + self.reservations.get(sku, 0)

    # ------------------------------------------------------------ orders

    def cancel_order(self, call: Call) -> Answer:
        order: _Order = self._one(self.orders, call.ids["id"])
        return Answer(200, self._cancel(order, "api"))

    def _cancel(self, order: _Order, by: str) -> bool:
        """Cancels what has no invoice; False where there is nothing, or a state that forbids it, and nobody says which."""
        if order.state in ("holded", "payment_review", "canceled", "complete", "closed"):
            return False
        if not any(each.to_invoice for each in order.sold):
            return False
        self._void_open_authorization(order)
        state = "canceled"
        for item in order.sold:
            if state != "processing" and item.to_refund:
                state = "processing" if item.to_ship > item.to_cancel else "complete"
            if quantity := item.to_cancel:
                item.canceled = quantity
                self.reservations[item.sku] = self.reservations.get(item.sku, 0) + quantity
                self._restocked(order, item, quantity, order.reference, "order_canceled")
        order.canceled = order.grand_total - (order.paid or 0)
        self._move(order, state)
        effect = "cancel_order" if state == "canceled" else "cancel_items"
        self._write(effect, id=str(order.entity_id), target=_target(order), reference=order.reference, by=by)
        self._tell(_ORDER_SAVED, order.entity_id)
        return True

    def _void_open_authorization(self, order: _Order) -> None:
        payment = order.payment
        amount = payment.authorized - payment.voided - (order.paid or 0)
        if amount <= 0 or not (payment.is_online and payment.can_void):
            return
        payment.voided += amount
        self._void(order, amount, f"{payment.transaction_id or payment.method}-void")

    def _void(self, order: _Order, amount: int, transaction: str) -> None:
        self._transact(order, transaction, "void", order.payment.transaction_id)
        self._write(
            "void",
            id=transaction,
            amount_minor=amount,
            currency=order.currency,
            target={**_target(order), "payment": order.payment.transaction_id},
            reference=order.reference,
        )

    def hold_order(self, call: Call) -> Answer:
        order: _Order = self._one(self.orders, call.ids["id"])
        if order.state in ("canceled", "payment_review", "complete", "closed", "holded"):
            fail(400, "A hold action is not available.")
        order.hold_before = (order.state, order.status)
        self._move(order, "holded")
        self._tell(_ORDER_SAVED, order.entity_id)
        return Answer(200, True)

    def unhold_order(self, call: Call) -> Answer:
        order: _Order = self._one(self.orders, call.ids["id"])
        if order.state != "holded":
            fail(400, "You cannot remove the hold.")
        state, status = order.hold_before or ("processing", "processing")
        order.hold_before = None
        self._move(order, state, status)
        self._tell(_ORDER_SAVED, order.entity_id)
        return Answer(200, True)

    def comment_order(self, call: Call) -> Answer:
        order: _Order = self._one(self.orders, call.ids["id"])
        body = _input(call)
        if not (told := _part(body, "status_history")):
            fail(400, _REQUIRED, {"fieldName": "statusHistory"})
        _need(told, "comment", "is_customer_notified", "is_visible_on_front")
        status = told.get("status")
        known = {*_STATUS.values(), *self.settings.statuses, order.status}
        is_change = status not in (None, order.status)
        if is_change and (status not in known or self.settings.comment_status == "refused"):
            message = 'Unable to add comment: The status "%1" is not part of the order status history.'
            fail(400, message, [status])
        if self.settings.comment_status == "changes":
            order.status = status
        self._comment(order, str(told["comment"]), told)
        self._touch(order)
        self._tell(_ORDER_SAVED, order.entity_id)
        return Answer(200, True)

    def _comment(self, order: _Order, text: str, told: Mapping[str, Any]) -> None:
        self._comments += 1
        line = {
            "comment": text,
            "created_at": _stamp(self.world.clock()),
            "entity_id": self._comments,
            "entity_name": "order",
            **{name: _typed(told.get(name) or 0, int, name) for name in _FLAGS},
            "parent_id": order.entity_id,
            "status": order.status,
        }
        order.comments.append(line)

    def _move(self, order: _Order, state: str, status: str | None = None) -> None:
        order.state, order.status = state, status or _STATUS[state]
        self._touch(order)

    def _touch(self, order: _Order) -> None:
        order.updated = self.world.clock()

    def void_invoice(self, call: Call) -> Answer:
        """Releases what an invoice holds; its units go back to not invoiced, so that the order can be cancelled."""
        invoice: _Document = self._one(self.invoices, call.ids["id"])
        order = self.orders[invoice.order_id]
        if invoice.state == 3 or not (invoice.can_void and order.payment.can_void):
            fail(400, "The void action is not available.")
        amount = invoice.grand_total
        invoice.state, invoice.updated = 3, self.world.clock()
        for item in order.sold:
            item.invoiced -= invoice.parts.get(item.item_id, (0,))[0]
        order.shipping_invoiced -= invoice.shipping
        order.paid = (order.paid or 0) - amount
        order.payment.voided += amount
        self._void(order, amount, f"{invoice.transaction_id or invoice.number}-void")
        self._touch(order)
        self._tell(_ORDER_SAVED, order.entity_id)
        return Answer(200, True)

    # ------------------------------------------------------------ credit memos

    def refund_invoice(self, call: Call) -> Answer:
        """With `isOnline` the gateway pays; without it the refund is only written down."""
        invoice: _Document = self._one(self.invoices, call.ids["id"], "invoiceId")
        body = _input(call)
        is_online = _typed(body.get("is_online") or False, bool, "isOnline")
        memo = self._refund(self.orders[invoice.order_id], invoice, body, is_online, "api", _code(call))
        return Answer(200, memo.entity_id)

    def refund_order(self, call: Call) -> Answer:
        """Never pays, whatever the body says."""
        order: _Order = self._one(self.orders, call.ids["id"], "orderId")
        memo = self._refund(order, None, _input(call), False, "api", _code(call))
        return Answer(200, memo.entity_id)

    def _refund(
        self, order: _Order, invoice: _Document | None, body: Record, is_online: bool, by: str, code: str
    ) -> _Document:
        """`code`: the fault's, if any. The gateway is called inside the database transaction, and only that can be undone."""
        returned, reference = _read_returned(body), _read_comment(body)
        memo = self._draft(order, invoice, body)
        if problems := self._problems(order, invoice, memo, returned, _asked(body)):
            raise _invalid(problems)
        if code == "gateway_declined":
            fail(400, _NOT_SAVED)
        memo.entity_id = max(self.memos, default=0) + 1
        memo.number = f"{memo.entity_id:09d}"
        if is_online and invoice is not None:
            memo.transaction_id = self._pay_back(order, invoice, memo, reference, by, code)
        if code == "could_not_refund":
            fail(400, _NOT_SAVED)
        self._append_comment(memo, body, reference)
        self._save(order, invoice, memo, is_online)
        if not is_online:
            self._write(
                "record_refund",
                id=str(memo.entity_id),
                amount_minor=memo.grand_total,
                currency=order.currency,
                target={**_target(order), "invoice": memo.invoice_id and str(memo.invoice_id)},
                reference=reference,
                by=by,
            )
        self._return_to_stock(order, memo, returned, reference)
        for item in order.sold:
            item.refunded += memo.parts.get(item.item_id, (0,))[0]
        self._move(order, *self._state_after_refund(order))
        self._tell(_MEMO_SAVED, memo.entity_id)
        self._tell(_ORDER_SAVED, order.entity_id)
        return memo

    def _draft(self, order: _Order, invoice: _Document | None, body: Record) -> _Document:
        asked = _asked(body)
        is_everything = not asked and self.settings.is_empty_everything
        parts = {}
        for item in order.sold:
            quantity = item.to_refund if is_everything else asked.get(item.item_id, 0)
            if invoice is not None and (is_everything or self.settings.caps_quantities):
                quantity = min(quantity, self._most(item, invoice))
            if quantity:
                parts[item.item_id] = (quantity, *item.amounts(item.refunded, quantity))
        left = order.shipping - order.shipping_refunded
        if invoice is not None:
            left = min(left, invoice.shipping)
        shipping = left
        if (sent := _amount(body, "shipping_amount")) is not None:
            # Compared in the base currency first, so that rounding on the way back leaves nothing behind.
            is_all = _minor(sent, order.base_currency) == order.base(left)
            shipping = left if is_all else order.from_base(sent)
        if not 0 <= shipping <= left:
            most = _number(order.base(left), order.base_currency)
            fail(400, "Maximum shipping amount allowed to refund is: %1", [most])
        taxed = _share(order.shipping_tax, order.shipping_refunded + shipping, order.shipping)
        now = self.world.clock()
        return _Document(
            0,
            "",
            order.entity_id,
            parts,
            shipping,
            taxed - order.shipping_tax_refunded,
            now,
            now,
            invoice_id=invoice.entity_id if invoice is not None else None,
            adjustment_positive=order.from_base(_amount(body, "adjustment_positive") or Decimal(0)),
            adjustment_negative=order.from_base(_amount(body, "adjustment_negative") or Decimal(0)),
        )

    def _most(self, item: _Item, invoice: _Document | None) -> int:
        if invoice is None:
            return item.to_refund
        return min(item.to_refund, self._left_on_invoice(invoice, item.item_id))

    def _left_on_invoice(self, invoice: _Document, item_id: int) -> int:
        mine = [each for each in self.memos.values() if each.invoice_id == invoice.entity_id]
        return invoice.parts.get(item_id, (0,))[0] - sum(each.parts.get(item_id, (0,))[0] for each in mine)

    def _problems(
        self,
        order: _Order,
        invoice: _Document | None,
        memo: _Document,
        returned: Sequence[int],
        asked: Mapping[int, int],
    ) -> list[str]:
        """Everything that speaks against the credit memo; Magento says it all at once."""
        problems = []
        left = (order.paid or 0) - (order.refunded or 0)
        if order.state in ("payment_review", "holded", "canceled", "closed"):
            problems.append(f"A creditmemo can not be created when an order has a status of {order.status}")
        elif not any(each.to_refund for each in order.sold):
            problems.append("The order does not allow a creditmemo to be created.")
        if left == 0:
            problems.append("We can't create creditmemo for the order.")
        if invoice is not None and not self._is_refundable(order, invoice):
            problems.append("We can't create creditmemo for the invoice.")
        for item in order.sold:
            quantity = memo.parts.get(item.item_id, (0,))[0]
            if asked.get(item.item_id, 0) < 0:
                problems.append(f'We found an invalid quantity to refund item "{item.title}".')
            elif quantity > self._most(item, invoice):
                problems.append(
                    "The quantity to creditmemo must not be greater than the unrefunded quantity "
                    f'for product SKU "{item.sku}".'
                )
        if memo.grand_total <= 0:
            problems.append("The credit memo's total must be positive.")
        elif not memo.total(0) and order.shipping == order.shipping_refunded:
            problems.append("You can't create a creditmemo without products.")
        if memo.grand_total > left:
            most = _number(order.base(left), order.base_currency)
            problems.append(f"The most money available to refund is {most}.")
        for id in returned:
            item_id = next((each.parent_id or id for each in order.items if each.item_id == id), None)
            if item_id is None:
                problems.append(
                    "The return to stock argument contains product item that is not part of the original order."
                )
            elif item_id not in memo.parts:
                sku = next(each.sku for each in order.items if each.item_id == item_id)
                problems.append(f'The "{sku}" product is not part of the current creditmemo.')
        return problems

    def _is_refundable(self, order: _Order, invoice: _Document) -> bool:
        is_open = invoice.state == 2 and invoice.grand_total > invoice.refunded
        payment = order.payment
        return is_open and payment.is_online and (payment.is_partly_refundable or not invoice.is_used)

    def _pay_back(
        self, order: _Order, invoice: _Document, memo: _Document, reference: str | None, by: str, code: str
    ) -> str:
        """The gateway's part. Its refusals reach the caller as the same error that a failed save does, and move no money."""
        payment, amount = order.payment, memo.grand_total
        is_part = amount != invoice.grand_total
        if (
            invoice.transaction_id is None
            or (is_part and not payment.is_partly_refundable)
            or payment.gone + amount > (order.paid or 0)
        ):
            fail(400, _NOT_SAVED)
        payment.gone += amount
        # The gateway has its own numbers; those of a memo that is rolled back are used again by the next one.
        transaction = self.mint(f"{invoice.transaction_id}-refund-", 6)
        self._write(
            "refund",
            id=transaction if code == "could_not_refund" else str(memo.entity_id),
            amount_minor=amount,
            currency=order.currency,
            target={
                **_target(order),
                "invoice": str(invoice.entity_id),
                "payment": invoice.transaction_id,
            },
            reference=reference,
            by=by,
            transaction=transaction,
            base_amount_minor=order.base(amount),
            base_currency=order.base_currency,
            is_rolled_back=code == "could_not_refund",
        )
        return transaction

    def _append_comment(self, memo: _Document, body: Record, reference: str | None) -> None:
        is_kept = self.settings.keeps_every_comment or body.get("append_comment")
        if reference is None or not is_kept:
            return
        self._comments += 1
        memo.comments.append(
            {
                "comment": reference,
                "created_at": _stamp(memo.created),
                "entity_id": self._comments,
                "is_customer_notified": int(bool(body.get("notify"))),
                "is_visible_on_front": int(body["comment"]["is_visible_on_front"]),
                "parent_id": memo.entity_id,
            }
        )

    def _save(self, order: _Order, invoice: _Document | None, memo: _Document, is_online: bool) -> None:
        amount = memo.grand_total
        self.memos[memo.entity_id] = memo
        order.refunded = (order.refunded or 0) + amount
        order.shipping_refunded += memo.shipping
        order.shipping_tax_refunded += memo.shipping_tax
        order.adjustment_positive += memo.adjustment_positive
        order.adjustment_negative += memo.adjustment_negative
        if is_online and invoice is not None:
            order.payment.refunded_online += amount
            order.payment.last_transaction = memo.transaction_id
            self._transact(order, str(memo.transaction_id), "refund", invoice.transaction_id)
        else:
            order.refunded_offline = (order.refunded_offline or 0) + amount
        if invoice is not None:
            invoice.is_used, invoice.updated = True, memo.created
            invoice.refunded += amount

    def _return_to_stock(
        self, order: _Order, memo: _Document, returned: Sequence[int], reference: str | None
    ) -> None:
        """Units not yet shipped were only promised: returned, the promise ends; not returned, they leave the warehouse with it."""
        wanted = {each.parent_id or each.item_id for each in order.items if each.item_id in returned}
        for item in order.sold:
            quantity = memo.parts.get(item.item_id, (0,))[0]
            if not quantity or item.type == "virtual":
                continue
            unshipped = min(quantity, item.to_ship)
            is_returned = item.item_id in wanted
            self.reservations[item.sku] = self.reservations.get(item.sku, 0) + unshipped
            self.source[item.sku] = self.source.get(item.sku, 0) + (
                quantity - unshipped if is_returned else -unshipped
            )
            if is_returned:
                self._restocked(order, item, quantity, reference, "creditmemo_created")

    def _restocked(self, order: _Order, item: _Item, quantity: int, reference: str | None, why: str) -> None:
        if item.type == "virtual":
            return
        self._write(
            "restock",
            id=str(item.item_id),
            target=_target(order),
            reference=reference,
            sku=item.sku,
            quantity=quantity,
            event=why,
        )

    def _state_after_refund(self, order: _Order) -> tuple[str]:
        """Closed only where nothing is left to invoice, to ship or to refund; else an order can look complete unshipped."""
        if order.state != "complete" and any(each.to_invoice for each in order.sold):
            return ("processing",)
        left = (order.paid or 0) - (order.refunded or 0)
        is_refundable = left not in (0, order.adjustment_negative)
        if any(each.to_ship for each in order.sold):
            return (order.state if order.state == "complete" else "processing",)
        return ("complete" if is_refundable else "closed",)

    def _transact(self, order: _Order, id: str, kind: str, parent: str | None) -> None:
        parent_id = next((k for k, each in self.transactions.items() if each["txn_id"] == parent), None)
        key = len(self.transactions) + 1
        self.transactions[key] = {
            "transaction_id": key,
            "parent_id": parent_id,
            "order_id": order.entity_id,
            "payment_id": order.entity_id,
            "txn_id": id,
            "parent_txn_id": parent,
            "txn_type": kind,
            "is_closed": int(kind != "authorization"),
            "additional_information": [],
            "created_at": _stamp(self.world.clock()),
            "child_transactions": [],
        }

    def _write(self, effect: str, **line: Any) -> None:
        if not self._is_history:
            self.book.write(effect, **line)

    # ------------------------------------------------------------ what is shown

    def _show_order(self, order: _Order) -> Record:
        both, sold = order.both, order.sold
        invoices = [
            each for each in self.invoices.values() if each.order_id == order.entity_id and each.state == 2
        ]
        memos = [each for each in self.memos.values() if each.order_id == order.entity_id]
        hold_state, hold_status = order.hold_before or (None, None)
        subtotal, tax, discount = (sum(each.amounts(0, each.ordered)[n] for each in sold) for n in range(3))
        online = order.payment.refunded_online or None
        return {
            "entity_id": order.entity_id,
            "increment_id": order.number,
            "state": order.state,
            "status": order.status,
            "store_id": 1,
            "store_name": "Practice\nPractice\nDefault",
            "order_currency_code": order.currency,
            "base_currency_code": order.base_currency,
            "global_currency_code": order.base_currency,
            "store_currency_code": order.base_currency,
            "base_to_order_rate": _plain(order.rate),
            "base_to_global_rate": 1,
            "created_at": _stamp(order.created),
            "updated_at": _stamp(order.updated),
            "customer_email": order.email,
            "customer_firstname": order.name[0],
            "customer_lastname": order.name[1],
            "customer_is_guest": 1,
            "is_virtual": int(all(each.type == "virtual" for each in sold)),
            "hold_before_state": hold_state,
            "hold_before_status": hold_status,
            **both("grand_total", order.grand_total),
            **both("subtotal", subtotal),
            **both("tax_amount", tax + order.shipping_tax),
            **both("discount_amount", -discount),
            **both("shipping_amount", order.shipping),
            **both("shipping_tax_amount", order.shipping_tax),
            **both("shipping_incl_tax", order.shipping + order.shipping_tax),
            **both("shipping_invoiced", order.shipping_invoiced if invoices else None),
            **both("shipping_refunded", order.shipping_refunded if memos else None),
            **both("subtotal_invoiced", sum(each.total(1) for each in invoices) if invoices else None),
            **both("subtotal_refunded", sum(each.total(1) for each in memos) if memos else None),
            **both("total_invoiced", sum(each.grand_total for each in invoices) if invoices else None),
            **both("total_paid", order.paid),
            **both("total_due", order.grand_total - (order.paid or 0)),
            **both("total_refunded", order.refunded),
            **both("total_online_refunded", online),
            **both("total_offline_refunded", order.refunded_offline),
            **both("total_canceled", order.canceled),
            **both("adjustment_positive", order.adjustment_positive or None),
            **both("adjustment_negative", order.adjustment_negative or None),
            "total_item_count": len(sold),
            "total_qty_ordered": sum(each.ordered for each in sold),
            "items": [self._show_item(order, each) for each in order.items],
            "billing_address": {
                "address_type": "billing",
                "city": "Berlin",
                "country_id": "DE",
                "email": order.email,
                "firstname": order.name[0],
                "lastname": order.name[1],
                "parent_id": order.entity_id,
                "postcode": "10115",
                "street": ["Practice Street 1"],
                "telephone": "000",
            },
            "payment": self._show_payment(order),
            "status_histories": [dict(each) for each in reversed(order.comments)],
            "extension_attributes": {"shipping_assignments": []},
        }

    def _show_payment(self, order: _Order) -> Record:
        payment, both = order.payment, order.both
        return {
            "account_status": "",
            "additional_information": [payment.method],
            "cc_last4": "",
            "entity_id": order.entity_id,
            "parent_id": order.entity_id,
            "method": payment.method,
            "last_trans_id": payment.last_transaction,
            **both("amount_ordered", order.grand_total),
            **both("amount_authorized", payment.authorized or None),
            **both("amount_canceled", payment.voided or None),
            **both("amount_paid", order.paid),
            **both("amount_refunded", order.refunded),
            "base_amount_refunded_online": order.both("x", payment.refunded_online or None)["base_x"],
            **both("shipping_amount", order.shipping),
        }

    def _show_item(self, order: _Order, item: _Item) -> Record:
        both = order.both
        source = next((each for each in order.items if each.item_id == item.parent_id), item)
        subtotal, tax, discount = item.amounts(0, item.ordered)
        refunded, tax_refunded, discount_refunded = item.amounts(0, source.refunded)
        return {
            "item_id": item.item_id,
            "parent_item_id": item.parent_id,
            "order_id": order.entity_id,
            "sku": item.sku,
            "name": item.title,
            "product_type": item.type,
            "is_qty_decimal": 0,
            "is_virtual": int(item.type == "virtual"),
            "qty_ordered": source.ordered,
            "qty_invoiced": source.invoiced,
            "qty_shipped": source.shipped,
            "qty_canceled": source.canceled,
            "qty_refunded": source.refunded,
            **both("price", item.unit),
            **both("row_total", subtotal),
            **both("row_invoiced", item.amounts(0, source.invoiced)[0]),
            **both("tax_amount", tax),
            **both("tax_refunded", tax_refunded or None),
            **both("discount_amount", discount),
            **both("discount_refunded", discount_refunded or None),
            **both("amount_refunded", refunded),
            "created_at": _stamp(order.created),
            "updated_at": _stamp(order.updated),
        }

    def _show_document(self, document: _Document) -> Record:
        order = self.orders[document.order_id]
        both = order.both
        return {
            "entity_id": document.entity_id,
            "increment_id": document.number,
            "order_id": document.order_id,
            "state": document.state,
            "store_id": 1,
            "order_currency_code": order.currency,
            "base_currency_code": order.base_currency,
            "base_to_order_rate": _plain(order.rate),
            "created_at": _stamp(document.created),
            "updated_at": _stamp(document.updated),
            "transaction_id": document.transaction_id,
            **both("grand_total", document.grand_total),
            **both("subtotal", document.total(1)),
            **both("tax_amount", document.total(2) + document.shipping_tax),
            **both("discount_amount", -document.total(3)),
            **both("shipping_amount", document.shipping),
            **both("shipping_tax_amount", document.shipping_tax),
            "items": [
                {
                    "entity_id": document.entity_id * 1000 + index,
                    "parent_id": document.entity_id,
                    "order_item_id": item.item_id,
                    "sku": item.sku,
                    "name": item.title,
                    "qty": document.parts[item.item_id][0],
                    **both("price", item.unit),
                    **both("row_total", document.parts[item.item_id][1]),
                    **both("tax_amount", document.parts[item.item_id][2]),
                    **both("discount_amount", document.parts[item.item_id][3]),
                    "base_cost": 0,
                }
                for index, item in enumerate(order.sold, 1)
                if item.item_id in document.parts
            ],
            "comments": [dict(each) for each in document.comments],
        }

    def _show_invoice(self, invoice: _Document) -> Record:
        order = self.orders[invoice.order_id]
        refunded = order.both("x", invoice.refunded or None)["base_x"]
        return {
            **self._show_document(invoice),
            "total_qty": invoice.total(0),
            "can_void_flag": int(invoice.can_void),
            "is_used_for_refund": 1 if invoice.is_used else None,
            "base_total_refunded": refunded,
        }

    def _show_memo(self, memo: _Document) -> Record:
        both = self.orders[memo.order_id].both
        return {
            **self._show_document(memo),
            "invoice_id": memo.invoice_id,
            **both("adjustment", memo.adjustment_positive - memo.adjustment_negative),
            **both("adjustment_positive", memo.adjustment_positive),
            **both("adjustment_negative", memo.adjustment_negative),
        }

    # ------------------------------------------------------------ seeding

    def seed(self, data: Record) -> Record:
        if strange := sorted(set(data) - {"settings", "stock", "orders"}):
            raise ValueError(f"the practice Magento cannot seed {', '.join(strange)}")
        try:
            settings: Record = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in data.get("settings", {}).items()
            }
            self.settings = replace(self.settings, **settings)
            self._is_history = True
            made = [self._seed_order(each) for each in data.get("orders", ())]
            for sku, salable in data.get("stock", {}).items():
                self._set_stock(sku, salable)
        except RefusalError as refused:
            raise ValueError(f"cannot seed magento: {refused.answer.body}") from refused
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed magento: {wrong!r}") from wrong
        finally:
            self._is_history = False
        return {"settings": asdict(self.settings), "orders": [self._told(each) for each in made]}

    def _seed_order(self, data: Record) -> _Order:
        payments: list[Record] = data.get("payments", [{}])
        if len(payments) > 1:
            raise ValueError("an order at Magento has one payment")
        id = data.get("id", max(self.orders, default=0) + 1)
        if isinstance(id, bool) or not isinstance(id, int) or id in self.orders:
            raise ValueError(f"an order's id is an integer of its own, not {id!r}")
        currency = data.get("currency", "EUR").upper()
        created = _when(data["created_at"]) if "created_at" in data else self.world.clock()
        told: Record = payments[0] if payments else {"gateway": "checkmo", "is_captured": False}
        method = told.get("gateway", "braintree")
        is_online = told.get("is_online", method not in _OFFLINE_METHODS)
        transaction = told.get("transaction_id", f"txn-{id}" if is_online else None)
        is_captured = told.get("is_captured", True)
        payment = _Payment(
            method,
            0,
            transaction,
            is_online,
            told.get("can_void", True),
            told.get("is_partly_refundable", True),
            transaction,
        )
        order = _Order(
            id,
            str(data.get("number", f"{id:09d}")),
            "processing" if is_captured or is_online else "new",
            None,
            currency,
            data.get("base_currency", currency).upper(),
            Decimal(str(data.get("base_to_order_rate", "1"))),
            data.get("email", "customer@example.com"),
            (data.get("firstname", "Practice"), data.get("lastname", "Customer")),
            created,
            created,
            [],
            data.get("shipping_minor", 0),
            data.get("shipping_tax_minor", 0),
            payment,
        )
        self.orders[id] = order
        for line in data["lines"]:
            self._seed_line(order, line)
        if told.get("amount_minor", order.grand_total) != order.grand_total:
            raise ValueError(f"the payment is the order's total, {order.grand_total}")
        if is_online and not is_captured:
            payment.authorized = order.grand_total
            self._transact(order, str(transaction), "authorization", None)
        for invoice in data.get("invoices", [{}] if is_captured else []):
            self._seed_invoice(order, invoice)
        order.state = self._seed_state(order, data.get("state"))
        order.status = data.get("status", _STATUS[order.state])
        for text in data.get("comments", ()):
            self._comment(order, text, {})
        for body in data.get("refunds", ()):
            self._refund_by_hand(order, body, "history")
        order.updated = _when(data["updated_at"]) if "updated_at" in data else created
        return order

    def _seed_line(self, order: _Order, line: Record) -> None:
        taken = [each.item_id for every in self.orders.values() for each in every.items]
        id = line.get("id", max(taken, default=0) + 1)
        if id in taken:
            raise ValueError(f"there is a line {id} already")
        kind: str = line.get("type", "simple")
        sku: str = line["sku"]
        quantity: int = line["quantity"]
        item = _Item(
            id,
            sku,
            line.get("title", sku),
            quantity,
            line["unit_minor"],
            line.get("tax_minor", 0),
            line.get("discount_minor", 0),
            kind,
            shipped=line.get("shipped", 0),
        )
        order.items.append(item)
        if kind == "configurable":
            child = _Item(max([*taken, id]) + 1, sku, item.title, quantity, 0, 0, 0, "simple", id)
            order.items.append(child)
        if kind == "virtual":
            return
        known = self.salable(sku) if sku in self.source else 10
        self.reservations[sku] = self.reservations.get(sku, 0) - item.to_ship
        self._set_stock(sku, line.get("stock", known))

    def _set_stock(self, sku: str, salable: int) -> None:
        self.source[sku] = salable - self.reservations.get(sku, 0)

    def _seed_invoice(self, order: _Order, data: Record) -> None:
        wanted = data.get("lines", {each.sku: each.to_invoice for each in order.sold})
        parts = {}
        for item in order.sold:
            if quantity := wanted.get(item.sku, 0):
                parts[item.item_id] = (quantity, *item.amounts(item.invoiced, quantity))
                item.invoiced += quantity
        if not parts or any(each.invoiced > each.ordered for each in order.sold):
            raise ValueError(f"an invoice of order {order.number} has units that are there and not invoiced")
        shipping = data.get("shipping_minor", order.shipping - order.shipping_invoiced)
        taxed = _share(order.shipping_tax, order.shipping_invoiced + shipping, order.shipping)
        tax = taxed - _share(order.shipping_tax, order.shipping_invoiced, order.shipping)
        id = data.get("id", max(self.invoices, default=0) + 1)
        payment, now = order.payment, self.world.clock() if not self._is_history else order.created
        own = payment.transaction_id
        if payment.authorized and own is not None:
            own = f"{own}-capture"
        invoice = _Document(
            id,
            f"{id:09d}",
            order.entity_id,
            parts,
            shipping,
            tax,
            now,
            now,
            transaction_id=data.get("transaction_id", own),
            can_void=data.get("can_void", False),
        )
        order.shipping_invoiced += shipping
        order.paid = (order.paid or 0) + invoice.grand_total
        self.invoices[id] = invoice
        if invoice.transaction_id is not None:
            parent = payment.transaction_id if payment.authorized else None
            self._transact(order, invoice.transaction_id, "capture", parent)
            payment.last_transaction = invoice.transaction_id

    def _seed_state(self, order: _Order, wanted: str | None) -> str:
        if wanted not in (None, *_STATUS):
            raise ValueError(f"an order's state is one of {', '.join(_STATUS)}")
        if wanted == "canceled" and not self._cancel(order, "history"):
            raise ValueError("an order that has an invoice for everything is not canceled but closed")
        if wanted == "closed":
            self._refund_by_hand(order, {}, "history")
        natural = order.state
        if wanted is None and not any(each.to_invoice or each.to_ship for each in order.sold):
            natural = "complete"
        if wanted == "holded":
            order.hold_before = (natural, _STATUS[natural])
        return wanted or natural

    def _refund_by_hand(self, order: _Order, body: Record, by: str) -> None:
        told = _snaked(copy.deepcopy(body))
        is_online = bool(told.get("is_online"))
        mine = [each for each in self.invoices.values() if each.order_id == order.entity_id]
        invoice = next((each for each in mine if each.grand_total > each.refunded), None)
        self._refund(order, invoice if is_online else None, told, is_online, by, "")

    # ------------------------------------------------------------ controls and events

    def settle(self, data: Record) -> Record:
        match data:
            case {"sku": str(sku), **rest}:
                if sku not in self.source:
                    raise NoSuchObjectError(f"no product {sku!r} at the practice Magento")
                if "stock" in rest:
                    self._set_stock(sku, rest["stock"])
                return self._stock(sku)
            case {"order": key, **rest}:
                order = self._order(key)
            case _:
                raise NoSuchObjectError("settle needs an order or a sku")
        try:
            match rest:
                case {"ship": wanted}:
                    self._ship(order, wanted)
                case {"invoice": "all"}:
                    self._seed_invoice(order, {})
                    self._move(order, "processing" if any(i.to_ship for i in order.sold) else "complete")
                case {"state": str(state)} if state in _STATUS:
                    order.hold_before = (order.state, order.status) if state == "holded" else None
                    self._move(order, state, rest.get("status"))
                case {"admin_cancel": True}:
                    if not self._cancel(order, "admin"):
                        raise ValueError(f"order {order.number} cannot be cancelled")
                case {"admin_refund": dict(body)}:
                    self._refund_by_hand(order, body, "admin")
                case _ if rest:
                    raise ValueError(f"an order has no {', '.join(sorted(rest))} to settle")
                case _:
                    return self._told(order)
        except RefusalError as refused:
            raise ValueError(f"refused: {refused.answer.body}") from refused
        if "admin_cancel" not in rest and "admin_refund" not in rest:
            self._tell(_ORDER_SAVED, order.entity_id)
        return self._told(order)

    def _ship(self, order: _Order, wanted: Any) -> None:
        for item in order.sold:
            quantity = item.to_ship if wanted == "all" else dict(wanted).get(item.sku, 0)
            if quantity > item.to_ship:
                raise ValueError(f"only {item.to_ship} of {item.sku} can be shipped")
            item.shipped += quantity
            if quantity:
                self.source[item.sku] -= quantity
                self.reservations[item.sku] = self.reservations.get(item.sku, 0) + quantity
        is_done = not any(each.to_ship or each.to_invoice for each in order.sold)
        self._move(order, "complete" if is_done else "processing")

    def _order(self, key: Any) -> _Order:
        for order in self.orders.values():
            if str(key) in (str(order.entity_id), order.number):
                return order
        raise NoSuchObjectError(f"no order {key!r} at the practice Magento")

    def _stock(self, sku: str) -> Record:
        return {"sku": sku, "stock": self.salable(sku), "source": self.source.get(sku, 0)}

    def _told(self, order: _Order) -> Record:
        id = order.entity_id
        return {
            "id": id,
            "number": order.number,
            "state": order.state,
            "grand_total_minor": order.grand_total,
            "lines": [
                {"id": each.item_id, "sku": each.sku, "parent": each.parent_id} for each in order.items
            ],
            "invoices": [each.entity_id for each in self.invoices.values() if each.order_id == id],
            "creditmemos": [each.entity_id for each in self.memos.values() if each.order_id == id],
            "transaction_id": order.payment.transaction_id,
            "stock": {each.sku: self.salable(each.sku) for each in order.sold if each.type != "virtual"},
        }

    def _tell(self, topic: str, id: int) -> None:
        if self.settings.edition != "open_source" and not self._is_history:
            self.emit(self.event_for(topic, str(id)))

    def event_for(self, topic: str, object_id: str) -> Event:
        """An I/O Event with the object as it is now; topics with or without Adobe's prefix."""
        if self.settings.edition == "open_source":
            raise NoSuchObjectError("Magento Open Source sends nothing; it is polled")
        short = topic.removeprefix(_EVENTS)
        if short == _ORDER_SAVED:
            value = self._show_order(self._order(object_id))
        elif short == _MEMO_SAVED and object_id.isdecimal() and int(object_id) in self.memos:
            value = self._show_memo(self.memos[int(object_id)])
        else:
            raise NoSuchObjectError(f"magento sends no {topic!r} about {object_id!r}")
        id = str(uuid.uuid4())
        body = {
            "specversion": "1.0",
            "id": id,
            "source": "urn:uuid:7a3f0d52-6a0c-4b19-9d7f-5b6a7c8d9e0f",
            "type": f"{_EVENTS}{short}",
            "datacontenttype": "application/json",
            "time": self.world.clock().isoformat().replace("+00:00", "Z"),
            "data": {
                "key": str(uuid.uuid4()),
                "source": "practice.magento",
                "value": _pruned(value),
                "_metadata": {
                    "commerceEdition": "Adobe Commerce",
                    "commerceVersion": "2.4.9",
                    "storeId": "1",
                },
            },
        }
        return Event(id, f"{_EVENTS}{short}", body)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`secret`: the client id of the one who subscribed, which Adobe writes into what it signs, under both spellings in use."""
        body = event.body
        if isinstance(body, dict):
            body = {**body, "recipient_client_id": secret, "recipientclientid": secret}
        payload = replace(event, body=body).payload
        headers = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
        for number in _PRIMES:
            headers[f"x-adobe-digital-signature-{number}"] = _rsa_sign(number, payload)
            headers[f"x-adobe-public-key{number}-path"] = f"/prod/keys/pub-key-practice-{number}.pem"
        return Delivery(headers, payload)

    def public_key(self, call: Call) -> Answer:
        """The key that a signature header points at, as PEM; Adobe serves its own from another host."""
        if call.ids["id"] not in ("1", "2"):
            return self.not_found(call)
        return Answer(200, _public_pem(int(call.ids["id"])), content_type="application/x-pem-file")


# ---------------------------------------------------------------- reading requests


def _encode(text: str) -> str:
    return quote(text, safe="-._~")


def _oauth_parameters(credentials: str) -> Iterable[tuple[str, str]]:
    """The pairs of an `Authorization: OAuth` header; the realm is no parameter."""
    for part in credentials.split(","):
        name, sign, value = part.strip().partition("=")
        if sign and name.startswith("oauth_"):
            yield unquote(name), unquote(value.strip('"'))


def _resource(call: Call) -> str:
    return _RESOURCES.get(call.operation, "Magento_Sales::actions_view")


def _code(call: Call) -> str:
    return call.fault.code if call.fault is not None and call.has(Kind.REFUSE) else ""


def _internal(call: Call) -> Record:
    message = "Internal Error. Details are available in Magento log file. Report ID: "
    return {"message": f"{message}webapi-{call.request_id}"}


def _invalid(problems: Iterable[str]) -> RefusalError:
    message = "\n".join(("Creditmemo Document Validation Error(s):", *problems))
    return RefusalError(Answer(400, {"message": message}))


def _input(call: Call) -> Record:
    """The JSON body with its names in snake case: Magento takes both spellings. No body counts as an empty one."""
    if not call.body.strip():
        return {}
    if call.content_type != "application/json":
        message = "Server cannot understand Content-Type HTTP header media type %1"
        fail(400, message, [call.content_type or "none"])
    try:
        body = json.loads(call.body, parse_float=Decimal)
    except ValueError:
        fail(400, "Decoding error.")
    if not isinstance(body, dict):
        fail(400, "Decoding error.")
    snaked: Record = _snaked(body)
    return snaked


def _snaked(value: Any) -> Any:
    if isinstance(value, list):
        return [_snaked(each) for each in value]
    if isinstance(value, dict):
        return {_snake(name): _snaked(each) for name, each in value.items()}
    return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=\w)(?=[A-Z])", "_", name).lower()


def _typed(value: Any, kind: type[Any], name: str) -> Any:
    """The value as that type, where PHP would take it for one: numbers may come as text, true as 1."""
    if kind is bool and (isinstance(value, bool) or value in (0, 1)):
        return bool(value)
    is_number = isinstance(value, int | Decimal | str) and not isinstance(value, bool)
    if kind is not bool and is_number:
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = Decimal("NaN")
        if number.is_finite() and (kind is Decimal or number == int(number)):
            return number if kind is Decimal else int(number)
    told = "float" if kind is Decimal else kind.__name__
    message = (
        f'Error occurred during "{name}" processing. The "%value" value\'s type is invalid. '
        'The "%type" type was expected. Verify and try again.'
    )
    fail(400, message, {"value": str(value), "type": told})


def _part(body: Record, name: str) -> Record:
    """An object inside the body. Below the top, a name that the data object does not have is an error."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        fail(400, "Decoding error.")
    for each in value:
        if each not in _SHAPES[name]:
            fail(400, f'Property "{each}" does not have accessor method in the "{name}" data object.')
    return value


def _need(value: Record, *names: str) -> None:
    for name in names:
        if value.get(name) is None:
            fail(400, _REQUIRED, {"fieldName": name})


def _list_of(value: Any) -> list[Any]:
    if not isinstance(value or [], list):
        fail(400, "Decoding error.")
    return value or []


def _asked(body: Record) -> dict[int, int]:
    """Quantities by order line. Fractions are cut off: nothing here is sold by weight."""
    asked: dict[int, int] = {}
    for each in _list_of(body.get("items")):
        item = _part({"items": each}, "items")
        _need(item, "order_item_id", "qty")
        asked[_typed(item["order_item_id"], int, "order_item_id")] = int(_typed(item["qty"], Decimal, "qty"))
    return asked


def _amount(body: Record, name: str) -> Decimal | None:
    value = _part(body, "arguments").get(name)
    return None if value is None else _typed(value, Decimal, name)


def _read_returned(body: Record) -> list[int]:
    returned = _part(_part(body, "arguments"), "extension_attributes").get("return_to_stock_items")
    return [_typed(each, int, "return_to_stock_items") for each in _list_of(returned)]


def _read_comment(body: Record) -> str | None:
    if not (told := _part(body, "comment")):
        return None
    _need(told, "comment", "is_visible_on_front")
    _typed(told["is_visible_on_front"], int, "is_visible_on_front")
    return str(told["comment"])


def _read_criteria(call: Call) -> Record:
    """`searchCriteria[…]` of the query, in both spellings; the parameter itself has to be there, if only empty."""
    groups: dict[str, dict[str, Record]] = {}
    orders: dict[str, Record] = {}
    found: Record = {}
    is_there = False
    for key, value in call.query_pairs:
        head, *parts = re.findall(r"[^\[\]]+", key) or [""]
        if _snake(head) != "search_criteria":
            continue
        is_there = True
        match [_snake(part) for part in parts]:
            case []:
                pass
            case ["filter_groups", group, "filters", index, ("field" | "value" | "condition_type") as name]:
                groups.setdefault(group, {}).setdefault(index, {})[name] = value
            case ["sort_orders", index, ("field" | "direction") as name]:
                orders.setdefault(index, {})[name] = value
            case [("page_size" | "current_page") as name]:
                found[name] = _typed(value, int, name)
            case _:
                fail(400, f'Property "{key}" does not have accessor method in the search criteria.')
    if not is_there:
        fail(400, _REQUIRED, {"fieldName": "searchCriteria"})
    filters = [[dict(each) for each in group.values()] for group in groups.values()]
    for each in (one for group in filters for one in group):
        if "field" not in each:
            fail(400, _REQUIRED, {"fieldName": "field"})
        each.setdefault("condition_type", "eq")
    for each in orders.values():
        each["direction"] = each.get("direction", "DESC").upper()
        if "field" not in each or each["direction"] not in ("ASC", "DESC"):
            fail(
                400, "Sort order has to be specified as ASC for ascending order or DESC for descending order."
            )
    sorting = {"sort_orders": list(orders.values())} if orders else {}
    return {"filter_groups": [{"filters": group} for group in filters], **sorting, **found}


def _fits(row: Record, wanted: Record, call: Call) -> bool:
    """One filter, as the database would see it: nothing is equal to, or different from, an absent value."""
    name, value, text = wanted["field"], row[wanted["field"]], str(wanted.get("value", ""))
    condition = wanted["condition_type"]
    if condition in ("null", "notnull"):
        return (value is None) is (condition == "null")
    if value is None:
        return False
    if name.endswith("_at") and condition not in ("like", "nlike", "in", "nin"):
        if not (found := _TIME.fullmatch(text)):
            raise RefusalError(Answer(500, _internal(call)))
        text = f"{found[1]} {found[2] or '00:00:00'}"
    if condition in ("in", "nin"):
        return any(_alike(value, each.strip()) == 0 for each in text.split(",")) is (condition == "in")
    if condition in ("like", "nlike"):
        pattern = re.escape(text).replace("%", ".*").replace("_", ".")
        is_like = re.fullmatch(pattern, str(value), re.IGNORECASE | re.DOTALL) is not None
        return is_like is (condition == "like")
    if condition == "finset":
        return text in str(value).split(",")
    if (compare := _COMPARISONS.get(condition)) is None:
        fail(400, "The condition type %1 is not known.", [condition])
    return compare(_alike(value, text), 0)


def _alike(value: Any, text: str) -> int:
    """-1, 0 or 1: numbers as numbers (a text that is none counts as 0), texts without regard to case."""
    left: Any = str(value).casefold()
    right: Any = text.casefold()
    if isinstance(value, int | float):
        left = Decimal(str(value))
        try:
            right = Decimal(text)
        except InvalidOperation:
            right = Decimal(0)
    return int(left > right) - int(left < right)


def _sortable(value: Any) -> tuple[bool, Decimal, str]:
    if isinstance(value, int | float):
        return (True, Decimal(str(value)), "")
    return (value is not None, Decimal(0), str(value or "").casefold())


# ---------------------------------------------------------------- amounts, times, shapes


def _share(total: int, part: int, whole: int) -> int:
    """The part of an amount, half up; taken of growing parts, the differences sum to the amount."""
    return (2 * total * part + whole) // (2 * whole) if whole else 0


def _minor(major: Decimal, currency: str) -> int:
    return int(major.scaleb(exponent_of(currency)).quantize(Decimal(1), ROUND_HALF_UP))


def _number(minor: int, currency: str) -> int | float:
    """As PHP writes a float: without a point where it is whole."""
    return _plain(Decimal(minor).scaleb(-exponent_of(currency)))


def _plain(value: Decimal) -> int | float:
    return int(value) if value == int(value) else float(value)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _when(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _pruned(value: Any) -> Any:
    """What Magento has no value for is not in its answer."""
    if isinstance(value, dict):
        kept = ("parent_id", "parent_txn_id") if "txn_id" in value else ()
        return {name: _pruned(each) for name, each in value.items() if each is not None or name in kept}
    return [_pruned(each) for each in value] if isinstance(value, list) else value


def _target(order: _Order) -> Record:
    return {"order": str(order.entity_id), "number": order.number}


# ---------------------------------------------------------------- keys


@functools.cache
def _primes(number: int) -> tuple[int, int]:
    """The two primes of a practice key."""
    p, q = (
        (
            int.from_bytes(
                hashlib.shake_256(f"practice magento key {number} {name}".encode()).digest(128), "big"
            )
        )
        for name in "pq"
    )
    top = (3 << 1022) | 1
    return (p | top) + _PRIMES[number][0], (q | top) + _PRIMES[number][1]


def _rsa_sign(number: int, payload: bytes) -> str:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), in base64."""
    p, q = _primes(number)
    size = ((p * q).bit_length() + 7) // 8
    told = _SHA256_INFO + hashlib.sha256(payload).digest()
    padded = b"\x00\x01" + b"\xff" * (size - len(told) - 3) + b"\x00" + told
    secret = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    return base64.b64encode(pow(int.from_bytes(padded, "big"), secret, p * q).to_bytes(size, "big")).decode()


def _public_pem(number: int) -> str:
    p, q = _primes(number)
    key = _der(0x30, _der_integer(p * q) + _der_integer(_EXPONENT))
    algorithm = _der(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    encoded = base64.b64encode(_der(0x30, algorithm + _der(0x03, b"\x00" + key))).decode()
    lines = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _der_integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
