"""A practice Square: orders, payments, refunds, inventory, disputes, webhooks and the token endpoint under `/square/`.

API version 2026-08-19; shapes from the vendor's own OpenAPI file (release 2025-08-20) and https://developer.squareup.com, read
2026-11-23. Where they are silent, `Settings` names the reading that is practised and lets a rehearsal choose the other.

Strict about: bearer tokens, their age and permissions; JSON bodies; the form of `Square-Version`; `version` of an order (and
that orders made elsewhere have none); fulfillments before orders; that a paid order is never cancelled and that no cancel
endpoint exists for orders; captured, disputed, failed and old payments; what is left to refund; `payment_version_token`;
inventory transitions and the age of `occurred_at`; cursors that belong to their query. `order` in an update is sparse: names
that are unknown there, or read-only, are passed over with a 200. Lists pass over unknown filters too.

Keys (`idempotency_key` in the body) live for 24 hours, per operation: the same body gets the first answer, refusals included, an
order update the newest order; another body is IDEMPOTENCY_KEY_REUSED. What fails validation leaves its key free; a 5xx is never kept.

`seed({"settings"?: {…}, "catalog"?: [{"id"?, "sku", "title"?, "stock"?, "location_id"?}], "orders"?: [{"id"?, "number"?, "currency"?,
"created_at"?, "state"?, "email"?, "customer_id"?, "location_id"?, "version"?, "is_outside_api"?, "metadata"?, "source"?,
"lines": [{"uid"?, "sku"?, "title"?, "quantity"?, "unit_minor", "shipped"?, "stock"?, "catalog_object_id"?}], "shipping_minor"?,
"fulfillments"?: [{"uid"?, "type"?, "state"?}], "payments"?: [{"id"?, "amount_minor"?, "gateway"?, "is_captured"?, "status"?,
"transaction"?, "created_at"?, "refunds"?: [{"amount_minor"?, "reason"?, "status"?}], "dispute"?: {"id"?, "state"?, "reason"?,
"amount_minor"?}}]}]})` returns `settings`, `catalog` and `orders`, each with the ids made. Without `payments` an order is paid by
one captured card payment; `"payments": []` leaves it unpaid. `gateway` is CARD, CASH, EXTERNAL or WALLET. `number` becomes `reference_id`,
`email` the recipient's and the payer's address. Seeded things are not in the book and send no events.

`settle` takes `{"refund": id, "status": "COMPLETED" | "REJECTED" | "FAILED"}`, `{"payment": id, "status": "COMPLETED" | "CANCELED" |
"FAILED"}`, `{"payment": id, "dashboard_refund": {"amount_minor"?, "reason"?}}`, `{"payment": id, "open_dispute": {…}}`, `{"dispute": id,
"status": …}`, `{"order": id, "fulfillment": uid, "status": …}`, `{"order": id, "status": "COMPLETED" | "CANCELED"}`, `{"order": id,
"metadata": {…}}` (somebody else edits: the version rises), `{"stock": sku or catalog id}` (reads) or `{"token": "expired"}`.

Book: `refund` when a refund is accepted, PENDING too, and `refund_failed` or `refund_rejected` where it ends so; `record_refund` for cash
and external payments; `void`, `cancel_fulfillment`, `cancel_order`, `restock`, `adjust_stock`, `accept_dispute`, `dispute_withdrawn`,
`dispute_reinstated`. A refuse fault on create_refund with code FAILED or FAILED_200 leaves a failed refund beside its error.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import urlsplit

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Handler,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Subscription,
    Vendor,
)

API_VERSION: Final = "2026-08-19"
ACCESS_TOKEN: Final = "practice-square-access-token"  # noqa: S105 (practice secrets, known to everybody)
CLIENT_ID: Final = "sq0idp-practice-square"
CLIENT_SECRET: Final = "sq0csp-practice-square-secret"  # noqa: S105 (a practice secret, known to everybody)
REFRESH_TOKEN: Final = "practice-square-refresh-token"  # noqa: S105 (a practice secret, known to everybody)
MERCHANT_ID: Final = "MPRACTICE"
LOCATION: Final = "L1"

KEY_LIFETIME: Final = timedelta(hours=24)
TOKEN_LIFETIME: Final = timedelta(days=30)
REFUND_WINDOW: Final = timedelta(days=365)
EVENT_WINDOW: Final = timedelta(days=28)
PAID_ORDER: Final = "Orders cannot be canceled after payments have been processed."

TOPICS: Final = (
    "dispute.created",
    "dispute.state.updated",
    "order.fulfillment.updated",
    "order.updated",
    "payment.updated",
    "refund.created",
    "refund.updated",
)

# Longest key per operation, in bytes: multi-byte characters leave room for fewer.
_KEY_BYTES: Final = {
    "update_order": 192,
    "create_refund": 45,
    "change_inventory": 128,
    "create_webhook_subscription": 45,
}
_SCOPES: Final = {
    **dict.fromkeys(("get_order", "search_orders"), "ORDERS_READ"),
    "update_order": "ORDERS_WRITE",
    **dict.fromkeys(("get_payment", "list_payments", "get_refund", "list_refunds"), "PAYMENTS_READ"),
    **dict.fromkeys(("cancel_payment", "create_refund"), "PAYMENTS_WRITE"),
    **dict.fromkeys(("list_inventory_changes", "list_inventory_counts"), "INVENTORY_READ"),
    "change_inventory": "INVENTORY_WRITE",
    **dict.fromkeys(("get_dispute", "list_disputes"), "DISPUTES_READ"),
    "accept_dispute": "DISPUTES_WRITE",
}
_PAGING: Final = (
    *("begin_time", "end_time", "sort_order", "cursor", "location_id", "limit"),
    *("updated_at_begin_time", "updated_at_end_time", "sort_field"),
)
_BATCH: Final = (
    *("catalog_object_ids", "location_ids", "types", "states"),
    *("updated_after", "updated_before", "cursor", "limit"),
)
# The parameters that an operation knows, of query or body; only `unknown_parameters: "refused"` looks at them.
_PARAMETERS: Final[Mapping[str, Sequence[str]]] = {
    "search_orders": ("location_ids", "cursor", "query", "limit", "return_entries"),
    "list_payments": (
        *_PAGING,
        *("total", "last_4", "card_brand", "is_offline_payment", "offline_begin_time", "offline_end_time"),
    ),
    "list_refunds": (*_PAGING, "status", "source_type"),
    "create_refund": (
        *("idempotency_key", "amount_money", "app_fee_money", "app_fee_allocations", "payment_id"),
        *("destination_id", "unlinked", "location_id", "customer_id", "reason", "payment_version_token"),
        *("team_member_id", "cash_details", "external_details"),
    ),
    "change_inventory": ("idempotency_key", "changes", "ignore_unchanged_counts"),
    "list_inventory_changes": _BATCH,
    "list_inventory_counts": _BATCH,
    "list_disputes": ("cursor", "states", "location_id"),
    "search_events": ("cursor", "limit", "query"),
}
# Codes whose category or status is not the usual INVALID_REQUEST_ERROR and 400.
_CODES: Final[Mapping[str, tuple[str, int]]] = {
    **dict.fromkeys(
        (
            *("REFUND_AMOUNT_INVALID", "REFUND_ALREADY_PENDING", "REFUND_DECLINED", "PAYMENT_NOT_REFUNDABLE"),
            *("PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE", "REFUND_ERROR_PAYMENT_NEEDS_COMPLETION"),
            "INSUFFICIENT_PERMISSIONS_FOR_REFUND",
        ),
        ("REFUND_ERROR", 400),
    ),
    **dict.fromkeys(
        ("UNAUTHORIZED", "ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_REVOKED"), ("AUTHENTICATION_ERROR", 401)
    ),
    **dict.fromkeys(("FORBIDDEN", "INSUFFICIENT_SCOPES"), ("AUTHENTICATION_ERROR", 403)),
    "NOT_FOUND": ("INVALID_REQUEST_ERROR", 404),
    **dict.fromkeys(("CONFLICT", "VERSION_MISMATCH"), ("INVALID_REQUEST_ERROR", 409)),
    "RATE_LIMITED": ("RATE_LIMIT_ERROR", 429),
    "INTERNAL_SERVER_ERROR": ("API_ERROR", 500),
    "BAD_GATEWAY": ("API_ERROR", 502),
    "SERVICE_UNAVAILABLE": ("API_ERROR", 503),
    "GATEWAY_TIMEOUT": ("API_ERROR", 504),
}
_STATUS_CODES: Final = {status: code for code, (_, status) in _CODES.items() if status in (404, 429)} | {
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    409: "CONFLICT",
    500: "INTERNAL_SERVER_ERROR",
    502: "BAD_GATEWAY",
    503: "SERVICE_UNAVAILABLE",
    504: "GATEWAY_TIMEOUT",
}
_REFUSALS: Final = {
    "update_order": ("BAD_REQUEST", PAID_ORDER, "order.state"),
    "cancel_payment": ("BAD_REQUEST", "The payment cannot be canceled.", None),
    "create_refund": ("REFUND_DECLINED", "The card issuer declined the refund.", None),
    "change_inventory": ("INVALID_VALUE", "The change is not supported.", "changes"),
    "accept_dispute": ("BAD_REQUEST", "The dispute cannot be accepted.", None),
}
_ORDER_STATES: Final = ("DRAFT", "OPEN", "COMPLETED", "CANCELED")
_OPEN_FULFILLMENTS: Final = ("PROPOSED", "RESERVED", "PREPARED")
_FULFILLMENT_STATES: Final = (*_OPEN_FULFILLMENTS, "COMPLETED", "CANCELED", "FAILED")
# What may be written on a fulfillment, and how long it may be.
_DETAILS: Final[Mapping[str, tuple[str, Mapping[str, int]]]] = {
    "SHIPMENT": (
        "shipment_details",
        {
            "carrier": 50,
            "shipping_note": 500,
            "shipping_type": 50,
            "tracking_number": 100,
            "tracking_url": 2000,
            "cancel_reason": 100,
        },
    ),
    "PICKUP": ("pickup_details", {"note": 500, "cancel_reason": 100}),
    "DELIVERY": ("delivery_details", {"note": 550, "cancel_reason": 100}),
}
_ORDER_TEXTS: Final = {"reference_id": 40, "ticket_name": 30, "customer_id": 191}
_REFUND_MOVES: Final[Mapping[str, Sequence[str]]] = {
    "PENDING": ("COMPLETED", "REJECTED", "FAILED"),
    "COMPLETED": ("FAILED",),
    "REJECTED": (),
    "FAILED": (),
}
_PENDING_MODES: Final = ("held", "blocking", "counted", "ignored")
# An order shows its refunds in the older form, where a refund that went through is called otherwise.
_OLD_REFUND_STATUS: Final = {"COMPLETED": "APPROVED"}
_TENDERS: Final = {"CARD": "CARD", "CASH": "CASH", "WALLET": "WALLET"}
_CARD_STATUS: Final = {
    "APPROVED": "AUTHORIZED",
    "COMPLETED": "CAPTURED",
    "CANCELED": "VOIDED",
    "FAILED": "FAILED",
}
_OFFLINE: Final = ("CASH", "EXTERNAL")
_DISPUTE_BLOCKS: Final = ("EVIDENCE_REQUIRED", "PROCESSING", "LOST", "ACCEPTED")
_INQUIRIES: Final = ("INQUIRY_EVIDENCE_REQUIRED", "INQUIRY_PROCESSING")
_DISPUTE_MOVES: Final[Mapping[str, Sequence[str]]] = {
    "INQUIRY_EVIDENCE_REQUIRED": ("INQUIRY_PROCESSING", "INQUIRY_CLOSED", "EVIDENCE_REQUIRED", "ACCEPTED"),
    "INQUIRY_PROCESSING": ("INQUIRY_CLOSED", "EVIDENCE_REQUIRED"),
    "INQUIRY_CLOSED": (),
    "EVIDENCE_REQUIRED": ("PROCESSING", "WON", "LOST", "ACCEPTED"),
    "PROCESSING": ("WON", "LOST"),
    "WON": (),
    "LOST": (),
    "ACCEPTED": (),
}
_UNTRACKED: Final = ("NONE", "SOLD", "UNLINKED_RETURN")
_STATES: Final = (
    *("CUSTOM", "IN_STOCK", "SOLD", "RETURNED_BY_CUSTOMER", "RESERVED_FOR_SALE", "SOLD_ONLINE"),
    *("ORDERED_FROM_VENDOR", "RECEIVED_FROM_VENDOR", "IN_TRANSIT_TO", "NONE", "WASTE", "UNLINKED_RETURN"),
    *("COMPOSED", "DECOMPOSED", "IN_TRANSIT"),
)
_TRANSITIONS: Final = (
    ("NONE", "IN_STOCK"),
    ("UNLINKED_RETURN", "IN_STOCK"),
    ("IN_STOCK", "SOLD"),
    ("IN_STOCK", "WASTE"),
)
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_METADATA_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_QUANTITY: Final = re.compile(r"\d{1,20}(\.0{1,5})?")


@dataclass(slots=True)
class Settings:
    """What the vendor does not promise in writing, or promises loosely; seeded under "settings".

    `refunds_complete_at_once`: whether a refund is COMPLETED in the answer (else PENDING until settled).
    `pending_refunds`: "held": they are not in `refunded_money`, yet nothing beyond the rest is accepted
    (REFUND_ALREADY_PENDING); "blocking": while one is pending no other is; "counted": they are in `refunded_money`;
    "ignored": only completed ones limit the next.
    `refund_restocks`: whether refunding all of an order puts its units back. `sold_returns_to_stock`: whether an adjustment
    may go from SOLD to IN_STOCK. `checks_occurred_at`: whether the age of an inventory change matters.
    `inquiry_blocks_refunds`: whether a mere inquiry does what a dispute does. `list_delay_s`: how late a new or changed refund
    shows in lists. `keeps_refusals`: whether a refusal is remembered under its key. `unknown_parameters`: "ignored" or "refused".
    `scopes`: the permissions that every token has; None for all.
    """

    refunds_complete_at_once: bool = False
    pending_refunds: str = "held"
    refund_restocks: bool = False
    sold_returns_to_stock: bool = False
    checks_occurred_at: bool = True
    inquiry_blocks_refunds: bool = False
    list_delay_s: float = 5.0
    keeps_refusals: bool = True
    unknown_parameters: str = "ignored"
    scopes: Sequence[str] | None = None


@dataclass(slots=True)
class Kept:
    """What is remembered under a key. `owner`: the call that runs, or ran, first; `answer` is None while it runs."""

    at: datetime
    fingerprint: str
    owner: str
    has_begun: bool = False
    answer: Answer | None = None


def fail(code: str, detail: str, field: str | None = None) -> NoReturn:
    """Ends the call with Square's error body."""
    raise RefusalError(_refusal(code, detail, field))


class Square(Vendor):
    """See the module's docstring; the state is Square-shaped dicts by id, in the order in which they were made."""

    name: ClassVar[str] = "square"

    def clear(self) -> None:
        self.settings = Settings()
        self.orders: dict[str, Record] = {}
        self.payments: dict[str, Record] = {}
        self.refunds: dict[str, Record] = {}
        self.disputes: dict[str, Record] = {}
        self.items: dict[str, Record] = {}
        self.stock: dict[tuple[str, str], int] = {}
        self.counted_at: dict[tuple[str, str], str] = {}
        self.changes: list[Record] = []
        self.subscriptions: dict[str, Record] = {}
        self.events: dict[str, Record] = {}
        self.keys: dict[tuple[str, str], Kept] = {}
        # A token's end; the shop's own has none.
        self.tokens: dict[str, datetime | None] = {ACCESS_TOKEN: None}
        # When a refund changed last, and how it looked before: what lists show until the delay is over.
        self.listed: dict[str, tuple[datetime, Record | None]] = {}
        keyed, order, hooks = self._keyed, "/v2/orders/{id}", "/v2/webhooks/subscriptions"
        self._routes = (
            Route("POST", "/oauth2/token", "token", self.give_token, is_open=True),
            Route("POST", "/v2/orders/search", "search_orders", self.search_orders),
            Route("GET", order, "get_order", self.get_order),
            Route("PUT", order, "update_order", keyed(self.update_order)),
            Route("GET", "/v2/payments", "list_payments", self.list_payments),
            Route("GET", "/v2/payments/{id}", "get_payment", self._getter(self.payments, "payment")),
            Route("POST", "/v2/payments/{id}/cancel", "cancel_payment", self.cancel_payment),
            Route("POST", "/v2/refunds", "create_refund", keyed(self.create_refund)),
            Route("GET", "/v2/refunds", "list_refunds", self.list_refunds),
            Route("GET", "/v2/refunds/{id}", "get_refund", self._getter(self.refunds, "refund")),
            Route(
                "POST", "/v2/inventory/changes/batch-create", "change_inventory", keyed(self.change_inventory)
            ),
            Route(
                "POST", "/v2/inventory/changes/batch-retrieve", "list_inventory_changes", self.list_changes
            ),
            Route("POST", "/v2/inventory/counts/batch-retrieve", "list_inventory_counts", self.list_counts),
            Route("GET", "/v2/disputes", "list_disputes", self.list_disputes),
            Route("GET", "/v2/disputes/{id}", "get_dispute", self._getter(self.disputes, "dispute")),
            Route("POST", "/v2/disputes/{id}/accept", "accept_dispute", self.accept_dispute),
            Route("POST", hooks, "create_webhook_subscription", keyed(self.create_subscription)),
            Route("POST", f"{hooks}/{{id}}/test", "test_webhook_subscription", self.test_subscription),
            Route("POST", "/v2/events", "search_events", self.search_events),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or (token := token.strip()) not in self.tokens:
            return _refusal("UNAUTHORIZED", "This request could not be authorized.")
        ends = self.tokens[token]
        if ends is not None and ends <= self.world.clock():
            return _refusal("ACCESS_TOKEN_EXPIRED", "The access token has expired.")
        needed, given = _SCOPES.get(call.operation), self.settings.scopes
        if needed is not None and given is not None and needed not in given:
            return _refusal("INSUFFICIENT_SCOPES", f"The merchant has not given the permission {needed}.")
        return None

    def unauthorised(self, call: Call) -> Answer:
        code = (call.fault.code if call.fault is not None else "") or "ACCESS_TOKEN_EXPIRED"
        return _refusal(code, "The access token has expired.")

    def refuse(self, call: Call) -> Answer:
        code, detail, field = _REFUSALS.get(call.operation, ("NOT_FOUND", "Resource not found.", None))
        named = call.fault.code if call.fault is not None else ""
        if call.operation == "create_refund" and named in ("FAILED", "FAILED_200"):
            return self._fail_refund(call, 200 if named == "FAILED_200" else 400)
        if named in ("", code):
            return _refusal(code, detail, field)
        return _refusal(named, f"Refused as {named}.")

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _refusal("NOT_FOUND", "Resource not found.")

    def failure(self, call: Call, status: int) -> Record:  # noqa: ARG002 (the contract's signature)
        code = _STATUS_CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_SERVER_ERROR")
        body: Record = _refusal(code, f"The practice Square answers {status} here.").body
        return body

    def begin(self, call: Call) -> Answer | None:
        if call.operation == "unknown":
            return None
        self._check_form(call)
        if (name := self._key(call)) is None:
            return None
        now = self.world.clock()
        # A key whose call still runs does not grow old.
        self.keys = {
            each: kept
            for each, kept in self.keys.items()
            if kept.answer is None or now - kept.at < KEY_LIFETIME
        }
        kept = self.keys.get(name)
        if kept is None:
            self.keys[name] = Kept(now, _fingerprint(call), call.request_id)
            return None
        if any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.REFUSE_AUTH)):
            # What stands in front of the API answers before it can look into its memory.
            return None
        return self.finish(call, self._replay(call, kept))

    def finish(self, call: Call, answer: Answer) -> Answer:
        name = self._key(call)
        kept = self.keys.get(name) if name is not None else None
        if name is not None and kept is not None and kept.owner == call.request_id and kept.answer is None:
            if call.has(Kind.REFUSE) and self.settings.keeps_refusals:
                kept.answer = answer
            else:
                del self.keys[name]
        version = call.headers.get("square-version", API_VERSION)
        return replace(answer, headers={"Square-Version": version, **answer.headers})

    def _check_form(self, call: Call) -> None:
        """What is looked at before anything is known about the operation: version, media type, JSON, names."""
        version = call.headers.get("square-version", API_VERSION)
        try:
            is_day = bool(datetime.strptime(version, "%Y-%m-%d").replace(tzinfo=UTC)) and len(version) == 10
        except ValueError:
            is_day = False
        if not is_day:
            fail("INVALID_SQUARE_VERSION_FORMAT", "Square-Version is a date such as 2026-08-19.")
        names = [name for name, _ in call.query_pairs]
        if call.method in ("POST", "PUT"):
            is_bodiless = call.operation in ("cancel_payment", "accept_dispute")
            if call.body or not is_bodiless:
                if call.content_type != "application/json":
                    fail("INVALID_CONTENT_TYPE", "The content type of a request is application/json.")
                if not isinstance(body := call.json, dict):
                    fail("EXPECTED_JSON_BODY", "The body is no JSON object.")
                names = list(body)
        known = _PARAMETERS.get(call.operation)
        if self.settings.unknown_parameters == "refused" and known is not None:
            for name in names:
                if name not in known:
                    place = "QUERY" if call.method == "GET" else "BODY"
                    fail(f"UNKNOWN_{place}_PARAMETER", f"Unrecognized field {name}.", name)

    # ------------------------------------------------------------ idempotency

    def _key(self, call: Call) -> tuple[str, str] | None:
        """The name under which the call is remembered; None where it has no key, or one that validation refuses."""
        most = _KEY_BYTES.get(call.operation)
        key = body.get("idempotency_key") if most and isinstance(body := call.json, dict) else None
        if most is None or not isinstance(key, str) or not 0 < len(key.encode()) <= most:
            return None
        return call.operation, key

    def _keyed(self, handle: Handler) -> Handler:
        """The handler, with its answer kept at the moment of the act: what becomes of the reply changes nothing."""

        def act(call: Call) -> Answer:
            kept = self.keys.get(name) if (name := self._key(call)) is not None else None
            if kept is None:
                return handle(call)
            if kept.owner != call.request_id:
                # A fault that acts first let a second call come this far.
                return self._replay(call, kept)
            try:
                kept.answer = handle(call)
            except RefusalError as refused:
                if kept.has_begun and self.settings.keeps_refusals:
                    kept.answer = refused.answer
                raise
            return kept.answer

        return act

    def _execute(self, call: Call) -> None:
        """Says that validation is over: from here on even a refusal is kept under the key."""
        name = self._key(call)
        if name is not None and (kept := self.keys.get(name)) is not None and kept.owner == call.request_id:
            kept.has_begun = True

    def _replay(self, call: Call, kept: Kept) -> Answer:
        if kept.fingerprint != _fingerprint(call):
            fail(
                "IDEMPOTENCY_KEY_REUSED",
                "The idempotency key was used with other parameters.",
                "idempotency_key",
            )
        if kept.answer is None:
            fail("CONFLICT", "A request with this idempotency key is at work.")
        if call.operation == "update_order" and kept.answer.status == 200:
            # The vendor promises the newest order here, not the first answer.
            return Answer(200, {"order": self._show_order(self.orders[call.ids["id"]])})
        return kept.answer

    def _check_key(self, call: Call, body: Record, *, is_required: bool = True) -> None:
        key = _text(body, "idempotency_key", most=_KEY_BYTES[call.operation])
        if not key and (is_required or key is not None):
            code = "VALUE_TOO_SHORT" if key is not None else "MISSING_REQUIRED_PARAMETER"
            fail(code, "idempotency_key is needed.", "idempotency_key")

    # ------------------------------------------------------------ tokens

    def give_token(self, call: Call) -> Answer:
        body = call.json
        for name in ("client_id", "grant_type"):
            if not isinstance(body.get(name), str):
                fail("MISSING_REQUIRED_PARAMETER", f"{name} is needed.", name)
        if body["client_id"] != CLIENT_ID or body.get("client_secret") != CLIENT_SECRET:
            fail("UNAUTHORIZED", "The client is not authorized.")
        if body["grant_type"] != "refresh_token":
            fail("BAD_REQUEST", "The practice Square only refreshes.", "grant_type")
        if body.get("refresh_token") != REFRESH_TOKEN:
            fail("UNAUTHORIZED", "The refresh token is not known.")
        token, ends = self.mint("EAAA", 60), self.world.clock() + TOKEN_LIFETIME
        self.tokens[token] = ends
        shown = {
            "access_token": token,
            "token_type": "bearer",
            "expires_at": _stamp(ends),
            "merchant_id": MERCHANT_ID,
            "refresh_token": REFRESH_TOKEN,
            "short_lived": False,
        }
        return Answer(200, shown)

    # ------------------------------------------------------------ orders

    def get_order(self, call: Call) -> Answer:
        return Answer(200, {"order": self._show_order(_one(self.orders, "order", call.ids["id"]))})

    def search_orders(self, call: Call) -> Answer:
        body = call.json
        locations = body.get("location_ids")
        if not isinstance(locations, list) or not locations:
            fail("MISSING_REQUIRED_PARAMETER", "Must specify at least one location.", "location_ids")
        if len(locations) > 10:
            fail("ARRAY_LENGTH_TOO_LONG", "At most 10 locations.", "location_ids")
        query = _object(body, "query")
        sort, wanted = _object(query, "sort", "query."), _object(query, "filter", "query.")
        field = _choice(sort, "sort_field", ("CREATED_AT", "UPDATED_AT", "CLOSED_AT"), "CREATED_AT").lower()
        is_descending = _choice(sort, "sort_order", ("ASC", "DESC"), "DESC") == "DESC"
        limit = _limit(body, 500, 1000)
        found = [each for each in self.orders.values() if each["location_id"] in locations]
        times = _object(wanted, "date_time_filter", "query.filter.")
        if times:
            if list(times) != [field]:
                # The trap of this search: the filter's field and the sort's must be one.
                fail(
                    "BAD_REQUEST",
                    "sort_field must match the timestamp field of the date_time_filter.",
                    "query.sort.sort_field",
                )
            start, end = (_moment(_object(times, field), name) for name in ("start_at", "end_at"))
            found = [each for each in found if _is_between(each.get(field), start, end)]
        states = _object(wanted, "state_filter", "query.filter.").get("states")
        if states is not None:
            _choices(states, _ORDER_STATES, "query.filter.state_filter.states")
            found = [each for each in found if each["state"] in states]
        handling = _object(wanted, "fulfillment_filter", "query.filter.")
        for name, key in (("fulfillment_types", "type"), ("fulfillment_states", "state")):
            if (chosen := handling.get(name)) is not None:
                found = [each for each in found if any(x[key] in chosen for x in each["fulfillments"])]
        if (sources := _object(wanted, "source_filter", "query.filter.").get("source_names")) is not None:
            found = [each for each in found if each["source"]["name"] in sources]
        if (people := _object(wanted, "customer_filter", "query.filter.").get("customer_ids")) is not None:
            found = [each for each in found if each.get("customer_id") in people]
        found.sort(key=lambda each: each.get(field, ""), reverse=is_descending)
        page, more = _page(found, body, limit, call)
        if body.get("return_entries") is True:
            entries = [
                {
                    "order_id": each["id"],
                    "location_id": each["location_id"],
                    **({"version": each["version"]} if "version" in each else {}),
                }
                for each in page
            ]
            return Answer(200, {"order_entries": entries, **more})
        return Answer(200, {"orders": [self._show_order(each) for each in page], **more})

    def update_order(self, call: Call) -> Answer:
        """A sparse update, all of it or nothing."""
        body = call.json
        self._check_key(call, body, is_required=False)
        order = _one(self.orders, "order", call.ids["id"])
        if not isinstance(sent := body.get("order"), dict):
            fail("MISSING_REQUIRED_PARAMETER", "order is needed.", "order")
        version = sent.get("version")
        if _text(sent, "location_id", "order.") is None:
            fail("MISSING_REQUIRED_PARAMETER", "location_id is needed.", "order.location_id")
        if version is None:
            fail("MISSING_REQUIRED_PARAMETER", "version is needed.", "order.version")
        if isinstance(version, bool) or not isinstance(version, int):
            fail("EXPECTED_INTEGER", "version is an integer.", "order.version")
        state = _choice(sent, "state", _ORDER_STATES, order["state"], "order.")
        metadata = _metadata(sent)
        self._execute(call)
        if "version" not in order:
            fail("BAD_REQUEST", "Orders that were not created through the API cannot be updated.", "order")
        if sent["location_id"] != order["location_id"]:
            fail("LOCATION_MISMATCH", "The order belongs to another location.", "order.location_id")
        if version != order["version"]:
            fail(
                "VERSION_MISMATCH",
                f"The order's version is {order['version']}, not {version}.",
                "order.version",
            )
        if order["state"] in ("COMPLETED", "CANCELED"):
            fail("BAD_REQUEST", f"Orders that are {order['state']} cannot be updated.", "order.state")
        draft = copy.deepcopy(order)
        for name, most in _ORDER_TEXTS.items():
            if (text := _text(sent, name, "order.", most)) is not None:
                draft[name] = text
        draft["metadata"] |= metadata
        _clear_fields(draft, body.get("fields_to_clear"))
        for line in _list(sent, "line_items", "order."):
            note = _text(line, "note", "order.line_items.", 2000)
            mine = _with_uid(draft["line_items"], line, "order.line_items")
            if note is not None:
                mine["note"] = note
        moved = [self._move_fulfillment(draft, each) for each in _list(sent, "fulfillments", "order.")]
        if state != order["state"]:
            self._move_order(draft, state)
        draft["version"] += 1
        draft["updated_at"] = self._now()
        order.clear()
        order.update(draft)
        self._book_order(order, moved, state == "CANCELED", metadata or None, body.get("idempotency_key"))
        self._tell("order.updated", order["id"])
        if moved:
            self._tell("order.fulfillment.updated", order["id"], moved)
        return Answer(200, {"order": self._show_order(order)})

    def _move_fulfillment(self, draft: Record, sent: Record) -> Record:
        """Applies one entry to the draft; returns what the event says about it."""
        mine = _with_uid(draft["fulfillments"], sent, "order.fulfillments")
        was = mine["state"]
        state = _choice(sent, "state", _FULFILLMENT_STATES, was, "order.fulfillments.")
        if state != was and (was not in _OPEN_FULFILLMENTS or _is_back(was, state)):
            fail("BAD_REQUEST", f"A fulfillment does not go from {was} to {state}.", "order.fulfillments")
        place, texts = _DETAILS[mine["type"]]
        details = _object(sent, place, "order.fulfillments.")
        for name, most in texts.items():
            if (text := _text(details, name, f"order.fulfillments.{place}.", most)) is not None:
                mine.setdefault(place, {})[name] = text
        if state == "CANCELED" != was:
            mine.setdefault(place, {})["canceled_at"] = self._now()
        mine["state"] = state
        return {"fulfillment_uid": mine["uid"], "old_state": was, "new_state": state}

    def _move_order(self, draft: Record, state: str) -> None:
        if state == "CANCELED":
            # An authorisation holds the order too, until it is released.
            if any(each["status"] in ("APPROVED", "PENDING", "COMPLETED") for each in self._paid(draft)):
                fail("BAD_REQUEST", PAID_ORDER, "order.state")
            if any(each["state"] != "CANCELED" for each in draft["fulfillments"]):
                fail("BAD_REQUEST", "All fulfillments must be CANCELED before the order.", "order.state")
        elif state == "COMPLETED":
            is_handled = all(each["state"] not in _OPEN_FULFILLMENTS for each in draft["fulfillments"])
            if not is_handled or self._due(draft) > 0:
                fail("BAD_REQUEST", "The order is not paid and fulfilled yet.", "order.state")
        elif state == "DRAFT":
            fail("BAD_REQUEST", "An order does not become a draft again.", "order.state")
        draft["state"] = state
        if state in ("CANCELED", "COMPLETED"):
            draft["closed_at"] = self._now()

    def _book_order(
        self, order: Record, moved: Sequence[Record], is_cancelled: bool, reference: Any, key: str | None
    ) -> None:
        target = {"order": order["id"], "number": order.get("reference_id")}
        for each in moved:
            if each["new_state"] == "CANCELED" != each["old_state"]:
                self.book.write(
                    "cancel_fulfillment",
                    id=each["fulfillment_uid"],
                    target=target,
                    reference=reference,
                    idempotency_key=key,
                )
        if is_cancelled:
            self.book.write(
                "cancel_order", id=order["id"], target=target, reference=reference, idempotency_key=key
            )

    def _paid(self, order: Record) -> list[Record]:
        return [each for each in self.payments.values() if each["order_id"] == order["id"]]

    def _due(self, order: Record) -> int:
        taken = sum(x["total_money"]["amount"] for x in self._paid(order) if x["status"] == "COMPLETED")
        return int(max(0, order["total_money"]["amount"] - taken))

    def _show_order(self, order: Record) -> Record:
        """The order with what follows from its payments, or from the refund that it stands for."""
        shown = copy.deepcopy(order)
        currency = shown["total_money"]["currency"]
        tenders = [_tender(each) for each in self._paid(order)]
        refunds = [
            {
                "id": each["id"],
                "location_id": each["location_id"],
                "transaction_id": self.payments[each["payment_id"]]["order_id"],
                "tender_id": each["payment_id"],
                "created_at": each["created_at"],
                "reason": each.get("reason", ""),
                "amount_money": dict(each["amount_money"]),
                "status": _OLD_REFUND_STATUS.get(each["status"], each["status"]),
            }
            for each in self.refunds.values()
            if each["order_id"] == order["id"]
        ]
        shown["net_amount_due_money"] = _money(self._due(order), currency)
        # Square leaves out what is empty.
        shown |= {name: found for name, found in (("tenders", tenders), ("refunds", refunds)) if found}
        return {name: value for name, value in shown.items() if value not in ([], {})}

    # ------------------------------------------------------------ payments

    def _getter(self, objects: dict[str, Record], kind: str) -> Handler:
        def get(call: Call) -> Answer:
            return Answer(200, {kind: copy.deepcopy(_one(objects, kind, call.ids["id"]))})

        return get

    def list_payments(self, call: Call) -> Answer:
        query = dict(call.query_pairs)
        total = query.get("total")
        found = [
            each
            for each in self.payments.values()
            if total is None or each["total_money"]["amount"] == _whole(total, "total")
        ]
        return self._list_page(call, "payments", found)

    def _list_page(self, call: Call, name: str, found: list[Record]) -> Answer:
        """What payments and refunds have in common: time ranges, place, order, pages. There is no filter by order or payment."""
        query = dict(call.query_pairs)
        now = self.world.clock()
        field = _choice(query, "sort_field", ("CREATED_AT", "UPDATED_AT"), "CREATED_AT").lower()
        begin = _moment(query, "begin_time") or now - REFUND_WINDOW
        end = _moment(query, "end_time") or now
        if end < begin:
            fail("INVALID_TIME_RANGE", "end_time is before begin_time.", "end_time")
        since, until = (_moment(query, f"updated_at_{edge}_time") for edge in ("begin", "end"))
        found = [
            each
            for each in found
            if _is_between(each["created_at"], begin, end)
            and _is_between(each["updated_at"], since, until)
            and query.get("location_id") in (None, each["location_id"])
        ]
        descending = _choice(query, "sort_order", ("ASC", "DESC"), "DESC") == "DESC"
        found.sort(key=lambda each: each[field], reverse=descending)
        # Asking for more than 100 is allowed, and gives 100.
        limit = min(_limit(query, 100, None), 100)
        page, more = _page(found, query, limit, call)
        return Answer(200, {**({name: copy.deepcopy(page)} if page else {}), **more})

    def cancel_payment(self, call: Call) -> Answer:
        payment = _one(self.payments, "payment", call.ids["id"])
        match payment["status"]:
            case "APPROVED":
                pass
            case "CANCELED":
                fail("DELAYED_TRANSACTION_CANCELED", "The payment was canceled already.")
            case "FAILED":
                fail("DELAYED_TRANSACTION_FAILED", "The payment failed.")
            case status:
                fail("BAD_REQUEST", f"A payment that is {status} cannot be canceled.")
        self._release(payment, "api")
        return Answer(200, {"payment": copy.deepcopy(payment)})

    def _release(self, payment: Record, by: str) -> None:
        self._move_payment(payment, "CANCELED")
        self.book.write(
            "void",
            id=payment["id"],
            amount_minor=payment["total_money"]["amount"],
            currency=payment["total_money"]["currency"],
            target={"payment": payment["id"], "order": payment["order_id"]},
            by=by,
        )

    def _move_payment(self, payment: Record, status: str) -> None:
        if payment["status"] not in ("APPROVED", "PENDING") or status not in _CARD_STATUS:
            raise ValueError(f"a payment does not go from {payment['status']} to {status}")
        payment["status"] = status
        if "card_details" in payment:
            payment["card_details"]["status"] = _CARD_STATUS[status]
        self._touch(payment)
        self._tell("payment.updated", payment["id"])

    def _touch(self, payment: Record) -> None:
        """Says that the payment changed, and what of it was given back by now."""
        mine = self._refunds_of(payment)
        counted = ("COMPLETED", "PENDING") if self.settings.pending_refunds == "counted" else ("COMPLETED",)
        given = _sum(mine, *counted)
        if given or "refunded_money" in payment:
            payment["refunded_money"] = _money(given, payment["total_money"]["currency"])
        if mine:
            payment["refund_ids"] = [each["id"] for each in mine]
        payment["updated_at"] = self._now()
        payment["version_token"] = self.mint(length=40)

    # ------------------------------------------------------------ refunds

    def create_refund(self, call: Call) -> Answer:
        payment, amount, reason, token = self._read_refund(call)
        self._execute(call)
        if token is not None and token != payment["version_token"]:
            fail("VERSION_MISMATCH", "The payment has changed.", "payment_version_token")
        self._check_refundable(payment, amount)
        is_late = not self.settings.refunds_complete_at_once or call.has(Kind.SLOW_PENDING)
        is_offline = payment["source_type"] in _OFFLINE
        status = "PENDING" if is_late and not is_offline else "COMPLETED"
        refund = self._refund(payment, amount, reason, status)
        self._book_refund(refund, "api", call.json["idempotency_key"])
        if call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self.settle({"refund": refund["id"], "status": "FAILED"}))
        return Answer(200, {"refund": copy.deepcopy(refund)})

    def _read_refund(self, call: Call) -> tuple[Record, int, str | None, str | None]:
        """The payment, amount, reason and version token asked for, validated."""
        body = call.json
        self._check_key(call, body)
        if body.get("unlinked") is True or body.get("destination_id") is not None:
            fail("BAD_REQUEST", "The practice Square refunds to where the payment came from.", "unlinked")
        for name in ("location_id", "customer_id"):
            if body.get(name) is not None:
                fail("CONFLICTING_PARAMETERS", f"{name} goes with unlinked refunds only.", name)
        for name in ("app_fee_money", "app_fee_allocations"):
            if body.get(name) is not None:
                fail("INVALID_FEES", "The payment was taken without an application fee.", name)
        if not (id := _text(body, "payment_id")):
            fail("MISSING_REQUIRED_PARAMETER", "payment_id is needed.", "payment_id")
        if not isinstance(money := body.get("amount_money"), dict):
            fail("MISSING_REQUIRED_PARAMETER", "amount_money is needed.", "amount_money")
        amount = money.get("amount")
        if isinstance(amount, bool) or not isinstance(amount, int):
            fail("EXPECTED_INTEGER", "An amount is an integer of minor units.", "amount_money.amount")
        if amount <= 0:
            fail("REFUND_AMOUNT_INVALID", "An amount is positive.", "amount_money")
        reason = _text(body, "reason", most=192)
        token = _text(body, "payment_version_token")
        payment = _one(self.payments, "payment", id)
        if not (currency := _text(money, "currency", "amount_money.")):
            fail("MISSING_REQUIRED_PARAMETER", "currency is needed.", "amount_money.currency")
        if currency != payment["total_money"]["currency"]:
            fail("UNSUPPORTED_CURRENCY", "The payment is in another currency.", "amount_money.currency")
        return payment, amount, reason, token

    def _check_refundable(self, payment: Record, amount: int) -> None:
        if payment["status"] in ("APPROVED", "PENDING"):
            fail("REFUND_ERROR_PAYMENT_NEEDS_COMPLETION", "The payment must be completed first.")
        if payment["status"] != "COMPLETED":
            fail("PAYMENT_NOT_REFUNDABLE", f"The payment is {payment['status']}.")
        if self.world.clock() - _time(payment["created_at"]) > REFUND_WINDOW:
            fail("PAYMENT_NOT_REFUNDABLE", "The payment is older than a year.")
        blocks = _DISPUTE_BLOCKS + (_INQUIRIES if self.settings.inquiry_blocks_refunds else ())
        if any(
            each["state"] in blocks and each["disputed_payment"]["payment_id"] == payment["id"]
            for each in self.disputes.values()
        ):
            fail("PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE", "The payment has been disputed.")
        mine = self._refunds_of(payment)
        if any(each["status"] == "FAILED" for each in mine):
            fail("PAYMENT_NOT_REFUNDABLE", "A refund of this payment failed; it cannot be repeated.")
        mode, pending = self.settings.pending_refunds, _sum(mine, "PENDING")
        left = payment["total_money"]["amount"] - _sum(mine, "COMPLETED")
        if amount > (left - pending if mode == "counted" else left):
            fail(
                "REFUND_AMOUNT_INVALID",
                "The requested amount exceeds the amount available to refund.",
                "amount_money",
            )
        if pending and (mode == "blocking" or (mode == "held" and amount > left - pending)):
            fail("REFUND_ALREADY_PENDING", "The payment has a pending refund.")

    def _refunds_of(self, payment: Record) -> list[Record]:
        return [each for each in self.refunds.values() if each["payment_id"] == payment["id"]]

    def _refund(
        self, payment: Record, amount: int, reason: str | None, status: str, *, is_seed: bool = False
    ) -> Record:
        """The refund and the order that stands for it; the original order does not change."""
        now, money = self._now(), _money(amount, payment["total_money"]["currency"])
        refund: Record = {
            "id": f"{payment['id']}_{self.mint(length=22)}",
            "status": status,
            "location_id": payment["location_id"],
            "unlinked": False,
            "destination_type": payment["source_type"],
            "amount_money": money,
            "payment_id": payment["id"],
            "order_id": self.mint(length=22),
            "created_at": now,
            "updated_at": now,
            **({"reason": reason} if reason is not None else {}),
        }
        currency = money["currency"]
        self.orders[refund["order_id"]] = {
            "id": refund["order_id"],
            "location_id": payment["location_id"],
            "source": dict(self.orders[payment["order_id"]]["source"]),
            "line_items": [],
            "fulfillments": [],
            "returns": [
                {
                    "uid": self.mint(length=22),
                    "source_order_id": payment["order_id"],
                    "return_amounts": {"total_money": dict(money)},
                }
            ],
            "return_amounts": {"total_money": dict(money)},
            "net_amounts": {"total_money": _money(-amount, currency)},
            "metadata": {},
            "created_at": now,
            "updated_at": now,
            "closed_at": now,
            "state": "COMPLETED",
            "version": 1,
            "total_money": _money(0, currency),
        }
        self.refunds[refund["id"]] = refund
        if not is_seed:
            self.listed[refund["id"]] = (self.world.clock(), None)
        self._touch(payment)
        if not is_seed:
            self._tell("refund.created", refund["id"])
            self._tell("payment.updated", payment["id"])
            if self.settings.refund_restocks and status in ("PENDING", "COMPLETED"):
                self._restock_order(payment, refund)
        return refund

    def _book_refund(self, refund: Record, by: str, key: str | None = None, effect: str = "") -> None:
        payment = self.payments[refund["payment_id"]]
        is_offline = payment["source_type"] in _OFFLINE
        self.book.write(
            effect or ("record_refund" if is_offline else "refund"),
            id=refund["id"],
            amount_minor=refund["amount_money"]["amount"],
            currency=refund["amount_money"]["currency"],
            target={
                "payment": payment["id"],
                "order": payment["order_id"],
                "return_order": refund["order_id"],
            },
            reference=refund.get("reason"),
            idempotency_key=key,
            status=refund["status"],
            by=by,
        )

    def _fail_refund(self, call: Call, status: int) -> Answer:
        """The refusal that comes with a refund: the object is there, the money is not."""
        payment, amount, reason, _ = self._read_refund(call)
        refund = self._refund(payment, amount, reason, "FAILED")
        refused = _refusal("REFUND_DECLINED", "The card issuer declined the refund.")
        return Answer(status, {**refused.body, "refund": copy.deepcopy(refund)})

    def _move_refund(self, refund: Record, status: str) -> None:
        payment = self.payments[refund["payment_id"]]
        if status not in _REFUND_MOVES[refund["status"]]:
            raise ValueError(f"a refund does not go from {refund['status']} to {status}")
        given = _sum(self._refunds_of(payment), "COMPLETED") + refund["amount_money"]["amount"]
        if status == "COMPLETED" and given > payment["total_money"]["amount"]:
            raise ValueError("more than was paid would go back; this refund can only be REJECTED or FAILED")
        self.listed[refund["id"]] = (self.world.clock(), copy.deepcopy(self._listed(refund)))
        refund["status"] = status
        refund["updated_at"] = self._now()
        self._touch(payment)
        if status in ("REJECTED", "FAILED"):
            self._book_refund(refund, "square", effect=f"refund_{status.lower()}")
        self._tell("refund.updated", refund["id"])
        self._tell("payment.updated", payment["id"])

    def list_refunds(self, call: Call) -> Answer:
        query = dict(call.query_pairs)
        status = _choice(query, "status", tuple(_REFUND_MOVES), "")
        shown = [each for each in map(self._listed, self.refunds.values()) if each is not None]
        found = [
            each
            for each in shown
            if status in ("", each["status"]) and query.get("source_type") in (None, each["destination_type"])
        ]
        return self._list_page(call, "refunds", found)

    def _listed(self, refund: Record) -> Record | None:
        """The refund as lists know it by now; None where they do not yet."""
        changed, before = self.listed.get(refund["id"], (None, None))
        delay = timedelta(seconds=self.settings.list_delay_s)
        return before if changed is not None and self.world.clock() - changed < delay else refund

    # ------------------------------------------------------------ inventory

    def change_inventory(self, call: Call) -> Answer:
        """All changes or none; what happened is in the answer's counts and changes."""
        body = call.json
        self._check_key(call, body)
        changes = _list(body, "changes")
        if not changes:
            fail("ARRAY_EMPTY", "changes is needed.", "changes")
        if len(changes) > 100:
            fail("ARRAY_LENGTH_TOO_LONG", "At most 100 changes.", "changes")
        read = [self._read_change(each, f"changes[{index}]") for index, each in enumerate(changes)]
        self._execute(call)
        key, made = body["idempotency_key"], []
        for kind, change in read:
            place = (change["catalog_object_id"], change["location_id"])
            quantity, was = int(change["quantity"].partition(".")[0]), self.stock.get(place, 0)
            if kind == "PHYSICAL_COUNT":
                if quantity == was and body.get("ignore_unchanged_counts") is not False:
                    continue
                delta = quantity - was
            else:
                delta = quantity if change["to_state"] == "IN_STOCK" else -quantity
            made.append(self._change_stock(kind, change, delta))
            self._book_stock(made[-1][kind.lower()], delta, key, kind.lower())
        places = dict.fromkeys((x["catalog_object_id"], x["location_id"]) for _, x in read)
        return Answer(200, {"counts": [self._count(each) for each in places], "changes": copy.deepcopy(made)})

    def _read_change(self, sent: Record, field: str) -> tuple[str, Record]:
        kind = _choice(sent, "type", ("PHYSICAL_COUNT", "ADJUSTMENT"), "", f"{field}.")
        change = sent.get(kind.lower()) if kind else None
        if not isinstance(change, dict):
            fail("MISSING_REQUIRED_PARAMETER", "A change has a type and its object.", field)
        field = f"{field}.{kind.lower()}"
        states = ("from_state", "to_state") if kind == "ADJUSTMENT" else ("state",)
        for name in ("catalog_object_id", "location_id", "quantity", "occurred_at", *states):
            if not _text(change, name, f"{field}."):
                fail("MISSING_REQUIRED_PARAMETER", f"{name} is needed.", f"{field}.{name}")
        reference = _text(change, "reference_id", f"{field}.", 255)
        if change["catalog_object_id"] not in self.items:
            fail("NOT_FOUND", "The catalog object is not known.", f"{field}.catalog_object_id")
        if change["location_id"] not in self._locations():
            fail("NOT_FOUND", "The location is not known.", f"{field}.location_id")
        if not _QUANTITY.fullmatch(change["quantity"]):
            fail("INVALID_VALUE", "A quantity is a whole number as text.", f"{field}.quantity")
        if kind == "ADJUSTMENT":
            move = (change["from_state"], change["to_state"])
            _choices(move, _STATES, f"{field}.from_state")
            allowed = move in _TRANSITIONS or (
                self.settings.sold_returns_to_stock and move == ("SOLD", "IN_STOCK")
            )
            if not allowed:
                fail(
                    "INVALID_VALUE", f"Stock does not move from {move[0]} to {move[1]}.", f"{field}.to_state"
                )
            if int(change["quantity"].partition(".")[0]) == 0:
                fail("INVALID_VALUE", "An adjustment moves something.", f"{field}.quantity")
        elif change["state"] != "IN_STOCK":
            fail("INVALID_VALUE", "What is counted is IN_STOCK.", f"{field}.state")
        at, now = _moment(change, "occurred_at", f"{field}.") or self.world.clock(), self.world.clock()
        if self.settings.checks_occurred_at and not now - timedelta(hours=24) <= at <= now:
            fail("INVALID_TIME", "occurred_at lies within the last 24 hours.", f"{field}.occurred_at")
        known = ("catalog_object_id", "location_id", "quantity", "occurred_at", *states)
        return kind, {x: change[x] for x in known} | ({"reference_id": reference} if reference else {})

    def _change_stock(self, kind: str, change: Record, delta: int) -> Record:
        """Moves the stock and writes the history; returns the change as it is shown."""
        place = (change["catalog_object_id"], change["location_id"])
        self.stock[place] = self.stock.get(place, 0) + delta
        self.counted_at[place] = self._now()
        shown = {
            "id": self.mint(length=24),
            "catalog_object_type": "ITEM_VARIATION",
            **change,
            "created_at": self._now(),
            "source": {"product": "EXTERNAL_API", "application_id": CLIENT_ID, "name": "Practice shop"},
        }
        self.changes.append({"type": kind, kind.lower(): shown})
        return self.changes[-1]

    def _book_stock(
        self, change: Record, delta: int, key: str | None, by: str, line: str = "", order: str | None = None
    ) -> None:
        self.book.write(
            "restock" if delta > 0 else "adjust_stock",
            id=line or change["id"],
            target={
                "order": order,
                "catalog_object_id": change["catalog_object_id"],
                "location_id": change["location_id"],
            },
            # The inventory API knows nothing of orders: what ties the two is what the caller wrote.
            reference=change.get("reference_id"),
            idempotency_key=key,
            sku=self.items[change["catalog_object_id"]]["sku"],
            quantity=delta,
            by=by,
        )

    def _restock_order(self, payment: Record, refund: Record) -> None:
        order = self.orders[payment["order_id"]]
        mine = {each["id"] for each in self._paid(order)}
        given = [each for each in self.refunds.values() if each["payment_id"] in mine]
        if _sum(given, "PENDING", "COMPLETED") < order["total_money"]["amount"]:
            return
        for line in order["line_items"]:
            if (item := line.get("catalog_object_id")) is None:
                continue
            change: Record = {
                "catalog_object_id": item,
                "location_id": order["location_id"],
                "quantity": line["quantity"],
                "occurred_at": self._now(),
                "from_state": "SOLD",
                "to_state": "IN_STOCK",
                "refund_id": refund["id"],
            }
            quantity = int(line["quantity"])
            shown = self._change_stock("ADJUSTMENT", change, quantity)["adjustment"]
            told = {**shown, "reference_id": refund.get("reason")}
            self._book_stock(told, quantity, None, "refund", line["uid"], order["id"])

    def list_changes(self, call: Call) -> Answer:
        """The history, oldest first. There is no filter by reference: whoever looks for his own reads on."""
        body = call.json
        since, until = _moment(body, "updated_after"), _moment(body, "updated_before")
        types = body.get("types") or ["PHYSICAL_COUNT", "ADJUSTMENT"]
        states = body.get("states")
        _choices(types, ("PHYSICAL_COUNT", "ADJUSTMENT"), "types")
        _choices(states or (), _STATES, "states")
        found = []
        for change in self.changes:
            shown = change[change["type"].lower()]
            at = _time(shown["created_at"])
            moved = {shown.get("from_state"), shown.get("to_state")}
            if (
                change["type"] in types
                and _is_chosen(body, shown)
                and (since is None or at > since)
                and (until is None or at < until)
                and (states is None or change["type"] != "ADJUSTMENT" or moved & set(states))
            ):
                found.append(change)
        found.sort(key=lambda each: _time(each[each["type"].lower()]["occurred_at"]))
        page, more = _page(found, body, _limit(body, 100, 1000), call)
        return Answer(200, {**({"changes": copy.deepcopy(page)} if page else {}), **more})

    def list_counts(self, call: Call) -> Answer:
        body = call.json
        since, states = _moment(body, "updated_after"), body.get("states")
        _choices(states or (), _STATES, "states")
        # Untracked states are passed over, so that a filter of nothing else is no filter.
        wanted = [each for each in states or () if each not in _UNTRACKED]
        counts = [self._count(place) for place in self.stock]
        found = [
            each
            for each in counts
            if _is_chosen(body, each)
            and (since is None or _time(each["calculated_at"]) > since)
            and (not wanted or each["state"] in wanted)
        ]
        found.sort(key=lambda each: each["calculated_at"], reverse=True)
        page, more = _page(found, body, _limit(body, 100, 1000), call)
        return Answer(200, {**({"counts": page} if page else {}), **more})

    def _count(self, place: tuple[str, str]) -> Record:
        return {
            "catalog_object_id": place[0],
            "catalog_object_type": "ITEM_VARIATION",
            "state": "IN_STOCK",
            "location_id": place[1],
            "quantity": str(self.stock.get(place, 0)),
            "calculated_at": self.counted_at.get(place, self._now()),
        }

    def _locations(self) -> set[str]:
        return {
            LOCATION,
            *(each["location_id"] for each in self.orders.values()),
            *(x for _, x in self.stock),
        }

    # ------------------------------------------------------------ disputes

    def list_disputes(self, call: Call) -> Answer:
        query = dict(call.query_pairs)
        states = query["states"].split(",") if query.get("states") else None
        _choices(states or (), tuple(_DISPUTE_MOVES), "states")
        found = [
            each
            for each in self.disputes.values()
            if (states is None or each["state"] in states)
            and query.get("location_id") in (None, each["location_id"])
        ]
        page, more = _page(found, query, 100, call)
        return Answer(200, {**({"disputes": copy.deepcopy(page)} if page else {}), **more})

    def accept_dispute(self, call: Call) -> Answer:
        dispute = _one(self.disputes, "dispute", call.ids["id"])
        if "ACCEPTED" not in _DISPUTE_MOVES[dispute["state"]]:
            fail("BAD_REQUEST", f"A dispute that is {dispute['state']} cannot be accepted.", "state")
        self._book_dispute(dispute, "accept_dispute")
        self._move_dispute(dispute, "ACCEPTED")
        return Answer(200, {"dispute": copy.deepcopy(dispute)})

    def _open_dispute(self, payment: Record, described: Record, *, is_seed: bool = False) -> Record:
        state = described.get("state", "EVIDENCE_REQUIRED")
        if state not in _DISPUTE_MOVES:
            raise ValueError(f"a dispute is one of {', '.join(_DISPUTE_MOVES)}, not {state!r}")
        total, now = payment["total_money"], self._now()
        dispute: Record = {
            "id": described.get("id") or self.mint(length=22),
            "amount_money": _money(described.get("amount_minor", total["amount"]), total["currency"]),
            "reason": described.get("reason", "NOT_RECEIVED"),
            "state": state,
            "due_at": _stamp(self.world.clock() + timedelta(days=7)),
            "disputed_payment": {"payment_id": payment["id"]},
            "card_brand": "VISA",
            "created_at": now,
            "updated_at": now,
            "reported_at": now,
            "version": 1,
            "location_id": payment["location_id"],
        }
        self.disputes[dispute["id"]] = dispute
        if not is_seed:
            self._tell("dispute.created", dispute["id"])
            if state in _DISPUTE_BLOCKS:
                self._book_dispute(dispute, "dispute_withdrawn")
        return dispute

    def _move_dispute(self, dispute: Record, state: str) -> None:
        was = dispute["state"]
        if state not in _DISPUTE_MOVES[was]:
            raise ValueError(f"a dispute does not go from {was} to {state}")
        dispute.update(state=state, updated_at=self._now(), version=dispute["version"] + 1)
        if was in _INQUIRIES and state in _DISPUTE_BLOCKS:
            self._book_dispute(dispute, "dispute_withdrawn")
        if state == "WON":
            self._book_dispute(dispute, "dispute_reinstated")
        self._tell("dispute.state.updated", dispute["id"])

    def _book_dispute(self, dispute: Record, effect: str) -> None:
        self.book.write(
            effect,
            id=dispute["id"],
            amount_minor=dispute["amount_money"]["amount"],
            currency=dispute["amount_money"]["currency"],
            target={"payment": dispute["disputed_payment"]["payment_id"]},
        )

    # ------------------------------------------------------------ subscriptions and events

    def create_subscription(self, call: Call) -> Answer:
        """Subscribes for real: from here on events go there, signed with the key of the answer."""
        body = call.json
        self._check_key(call, body, is_required=False)
        sent = _object(body, "subscription")
        name, url = (_text(sent, each, "subscription.") for each in ("name", "notification_url"))
        types = sent.get("event_types")
        parts = urlsplit(url or "")
        if not name or not url or not isinstance(types, list) or not types:
            fail(
                "MISSING_REQUIRED_PARAMETER",
                "name, notification_url and event_types are needed.",
                "subscription",
            )
        if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1"):
            fail("INVALID_VALUE", "The address must be https.", "subscription.notification_url")
        _choices(types, TOPICS, "subscription.event_types")
        self._execute(call)
        made = {
            "id": self.mint("wbhk_", 32),
            "name": name,
            "enabled": sent.get("enabled") is not False,
            "event_types": list(types),
            "notification_url": url,
            "api_version": sent.get("api_version", API_VERSION),
            "signature_key": self.mint(length=22),
            "created_at": self._now(),
            "updated_at": self._now(),
        }
        self.subscriptions[made["id"]] = made
        if made["enabled"]:
            self.world.webhooks.subscribe(
                self.name, Subscription(url, made["signature_key"], topics=tuple(types))
            )
        return Answer(200, {"subscription": dict(made)})

    def test_subscription(self, call: Call) -> Answer:
        mine = _one(self.subscriptions, "subscription", call.ids["id"])
        topic = _text(call.json, "event_type") or mine["event_types"][0]
        _choices((topic,), mine["event_types"], "event_type")
        body: Record = {
            "merchant_id": MERCHANT_ID,
            "type": topic,
            "event_id": self.mint(length=36),
            "created_at": self._now(),
            "data": {"type": topic.split(".")[0], "id": self.mint(length=36)},
        }
        event = Event(body["event_id"], topic, body)
        status = self.world.webhooks.send_now(
            self.name, event, mine["notification_url"], mine["signature_key"]
        )
        result = {
            "id": self.mint(length=32),
            "status_code": status,
            "payload": event.payload.decode(),
            "created_at": self._now(),
            "updated_at": self._now(),
        }
        return Answer(200, {"subscription_test_result": result})

    def search_events(self, call: Call) -> Answer:
        body = call.json
        query = _object(body, "query")
        wanted, sort = _object(query, "filter", "query."), _object(query, "sort", "query.")
        types, created = wanted.get("event_types"), _object(wanted, "created_at", "query.filter.")
        start, end = (_moment(created, name) for name in ("start_at", "end_at"))
        oldest = self.world.clock() - EVENT_WINDOW
        found = [
            each
            for each in self.events.values()
            if (types is None or each["type"] in types)
            and _is_between(each["created_at"], max(start or oldest, oldest), end)
        ]
        if _choice(sort, "order", ("ASC", "DESC"), "DESC") == "DESC":
            found.reverse()
        page, more = _page(found, body, _limit(body, 100, 100), call)
        metadata = [{"event_id": each["event_id"], "api_version": API_VERSION} for each in page]
        return Answer(200, {"events": copy.deepcopy(page), "metadata": metadata, **more})

    def _tell(self, topic: str, id: str, moved: Sequence[Record] | None = None) -> None:
        event = self._event(topic, id, moved)
        self.emit(Event(event["event_id"], topic, event))

    def _event(self, topic: str, id: str, moved: Sequence[Record] | None = None) -> Record:
        if topic.startswith("order"):
            kind, about = topic.replace(".", "_"), self._order_news(id, topic, moved)
        else:
            kind = topic.split(".")[0]
            objects = {"refund": self.refunds, "payment": self.payments, "dispute": self.disputes}[kind]
            about = copy.deepcopy(self._known(objects, id))
        event: Record = {
            "merchant_id": MERCHANT_ID,
            "location_id": about["location_id"],
            "type": topic,
            "event_id": self.mint(length=36),
            "created_at": self._now(),
            "data": {"type": kind, "id": id, "object": {kind: about}},
        }
        self.events[event["event_id"]] = event
        return event

    def _order_news(self, id: str, topic: str, moved: Sequence[Record] | None) -> Record:
        order = self._known(self.orders, id)
        names = ("version", "location_id", "state", "created_at", "updated_at")
        news: Record = {"order_id": id, **{name: order[name] for name in names if name in order}}
        if topic == "order.fulfillment.updated":
            news["fulfillment_update"] = [
                dict(each)
                for each in moved
                or [
                    {"fulfillment_uid": x["uid"], "old_state": x["state"], "new_state": x["state"]}
                    for x in order["fulfillments"]
                ]
            ]
        return news

    def event_for(self, topic: str, object_id: str) -> Event:
        """The newest event of that type about the object, or one made now: asked for twice it is the same event."""
        if topic not in TOPICS:
            raise NoSuchObjectError(f"the practice Square sends {', '.join(TOPICS)}, not {topic!r}")
        for event in reversed(self.events.values()):
            if event["type"] == topic and event["data"]["id"] == object_id:
                return Event(event["event_id"], topic, event)
        event = self._event(topic, object_id)
        return Event(event["event_id"], topic, event)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:
        """Base64 of HMAC-SHA256 over the address as it was registered and the raw body; no time stamp is in it."""
        body = event.payload
        digest = hmac.new(secret.encode(), url.encode() + body, hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Square Connect v2 (practice)",
            "x-square-hmacsha256-signature": base64.b64encode(digest).decode(),
        }
        return Delivery(headers, body)

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        """All of it or nothing: what is described wrongly leaves no half of an order behind."""
        objects: tuple[dict[Any, Any], ...] = (
            *(self.orders, self.payments, self.refunds, self.disputes),
            *(self.items, self.stock, self.counted_at),
        )
        before, settings_before = [dict(each) for each in objects], self.settings
        try:
            return self._seed(data)
        except (KeyError, TypeError, ValueError, RefusalError) as wrong:
            for each, was in zip(objects, before, strict=True):
                each.clear()
                each.update(was)
            self.settings = settings_before
            raise ValueError(f"cannot seed square: {wrong!r}") from wrong

    def _seed(self, data: Record) -> Record:
        if unknown := set(data.get("settings", {})) - {each.name for each in fields(Settings)}:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
        self.settings = replace(self.settings, **data.get("settings", {}))
        if self.settings.pending_refunds not in _PENDING_MODES:
            raise ValueError(f"pending_refunds is one of {', '.join(_PENDING_MODES)}")
        return {
            "settings": {each.name: getattr(self.settings, each.name) for each in fields(Settings)},
            "catalog": [self._seed_item(each) for each in data.get("catalog", ())],
            "orders": [self._seed_order(each) for each in data.get("orders", ())],
        }

    def _seed_item(self, described: Record, location: str = LOCATION) -> Record:
        """Makes an item variation, or finds it by id or sku; a number named for its stock is set, 100 is where it starts."""
        sku = described["sku"]
        same = [id for id, each in self.items.items() if each["sku"] == sku]
        id = described.get("id") or described.get("catalog_object_id") or (same[0] if same else f"V-{sku}")
        self.items.setdefault(id, {"sku": sku, "title": described.get("title", sku)})
        place = (id, described.get("location_id", location))
        if "stock" in described or place not in self.stock:
            self.stock[place] = int(described.get("stock", 100))
            self.counted_at[place] = self._now()
        return {"catalog_object_id": id, "sku": sku, "location_id": place[1], "stock": self.stock[place]}

    def _seed_order(self, described: Record) -> Record:
        currency = described.get("currency", "USD")
        created = self._seed_time(described)
        location = described.get("location_id", LOCATION)
        number = str(described.get("number", 1001 + sum("returns" not in x for x in self.orders.values())))
        lines = [self._seed_line(each, currency, location) for each in described["lines"]]
        shipping = int(described.get("shipping_minor", 0))
        total = sum(line["total_money"]["amount"] for line in lines) + shipping
        order: Record = {
            "id": described.get("id") or self.mint(length=22),
            "location_id": location,
            "reference_id": number,
            "source": {"name": described.get("source", "Practice shop")},
            "line_items": lines,
            "service_charges": [],
            "fulfillments": self._seed_fulfillments(described, lines),
            "metadata": {key: str(value) for key, value in described.get("metadata", {}).items()},
            "created_at": created,
            "updated_at": created,
            "total_money": _money(total, currency),
            "total_tax_money": _money(0, currency),
            "total_discount_money": _money(0, currency),
            "total_tip_money": _money(0, currency),
            "total_service_charge_money": _money(shipping, currency),
        }
        if shipping:
            charge = {"amount_money": _money(shipping, currency), "total_money": _money(shipping, currency)}
            order["service_charges"].append(
                {"uid": "SHIPPING", "name": "Shipping", "calculation_phase": "SUBTOTAL_PHASE", **charge}
            )
        if "customer_id" in described:
            order["customer_id"] = described["customer_id"]
        if not described.get("is_outside_api"):
            order["version"] = described.get("version", 1)
        self.orders[order["id"]] = order
        made = []
        for each in described.get("payments", [{}]):
            left = total - sum(x["total_money"]["amount"] for x in self._paid(order))
            made.append(self._seed_payment({"amount_minor": left, **each}, order, described.get("email")))
        is_open = any(each["state"] in _OPEN_FULFILLMENTS for each in order["fulfillments"])
        order["state"] = described.get("state", "OPEN" if is_open or self._due(order) else "COMPLETED")
        if order["state"] not in _ORDER_STATES:
            raise ValueError(f"an order is one of {', '.join(_ORDER_STATES)}, not {order['state']!r}")
        if order["state"] in ("COMPLETED", "CANCELED"):
            order["closed_at"] = created
        return {
            "id": order["id"],
            "number": number,
            "version": order.get("version"),
            "state": order["state"],
            "total_minor": total,
            "currency": currency,
            "lines": [
                {
                    "uid": line["uid"],
                    "catalog_object_id": line.get("catalog_object_id"),
                    "stock": self.stock.get((line.get("catalog_object_id", ""), location)),
                }
                for line in lines
            ],
            "fulfillments": [each["uid"] for each in order["fulfillments"]],
            "payments": made,
        }

    def _seed_line(self, described: Record, currency: str, location: str) -> Record:
        quantity, unit = int(described.get("quantity", 1)), described["unit_minor"]
        if isinstance(unit, bool) or not isinstance(unit, int):
            raise ValueError("unit_minor is an integer of minor units")
        total = _money(unit * quantity, currency)
        line: Record = {
            "uid": described.get("uid") or self.mint(length=22),
            "name": described.get("title", described.get("sku", "Item")),
            "quantity": str(quantity),
            "item_type": "ITEM",
            "base_price_money": _money(unit, currency),
            "gross_sales_money": dict(total),
            "total_tax_money": _money(0, currency),
            "total_discount_money": _money(0, currency),
            "total_money": total,
        }
        # A line without an item (a custom amount) has nothing in stock to put back.
        if described.get("sku") is not None and described.get("catalog_object_id", "") is not None:
            line["catalog_object_id"] = self._seed_item(described, location)["catalog_object_id"]
        return line

    def _seed_fulfillments(self, described: Record, lines: list[Record]) -> list[Record]:
        recipient = {"display_name": "Practice customer"}
        if described.get("email"):
            recipient["email_address"] = described["email"]
        if "fulfillments" in described:
            wanted = [dict(each) for each in described["fulfillments"]]
        else:
            # What is shipped and what is not are two fulfillments, as the vendor keeps them.
            shipped = [int(each.get("shipped", 0)) for each in described["lines"]]
            parts = (
                ("COMPLETED", shipped),
                ("PROPOSED", [int(x["quantity"]) - s for x, s in zip(lines, shipped, strict=True)]),
            )
            wanted = [{"state": state, "_units": units} for state, units in parts if any(units)]
        made = []
        for index, each in enumerate(wanted):
            kind, state = each.get("type", "SHIPMENT"), each.get("state", "PROPOSED")
            if kind not in _DETAILS or state not in _FULFILLMENT_STATES:
                raise ValueError(f"there is no {state} fulfillment of type {kind}")
            entries = [
                {"uid": self.mint(length=22), "line_item_uid": line["uid"], "quantity": str(units)}
                for line, units in zip(lines, each.get("_units", ()), strict=False)
                if units
            ]
            is_all = len(wanted) == 1 or not entries
            made.append(
                {
                    "uid": each.get("uid", f"F{index + 1}"),
                    "type": kind,
                    "state": state,
                    "line_item_application": "ALL" if is_all else "ENTRY_LIST",
                    **({} if is_all else {"entries": entries}),
                    _DETAILS[kind][0]: {"recipient": dict(recipient)},
                }
            )
        return made

    def _seed_payment(self, described: Record, order: Record, email: str | None) -> Record:
        source = described.get("gateway", "CARD").upper()
        status = described.get("status") or (
            "COMPLETED" if described.get("is_captured", True) else "APPROVED"
        )
        if status not in (*_CARD_STATUS, "PENDING"):
            raise ValueError(f"a payment is not {status!r}")
        created = self._seed_time(described, order["created_at"])
        money = _money(described["amount_minor"], order["total_money"]["currency"])
        payment: Record = {
            "id": described.get("id") or self.mint(length=22),
            "created_at": created,
            "updated_at": created,
            "amount_money": dict(money),
            "total_money": dict(money),
            "approved_money": dict(money),
            "status": status,
            "delay_action": "CANCEL",
            "delay_duration": "PT168H",
            "delayed_until": _stamp(_time(created) + timedelta(hours=168)),
            "source_type": source,
            "location_id": order["location_id"],
            "order_id": order["id"],
            "receipt_number": self.mint(length=4),
            "version_token": self.mint(length=40),
        }
        if described.get("transaction"):
            payment["reference_id"] = described["transaction"]
        if email:
            payment["buyer_email_address"] = email
        match source:
            case "CARD":
                card = {"card_brand": "VISA", "last_4": "5858", "exp_month": 8, "exp_year": 2030}
                details = {"status": _CARD_STATUS.get(status, "AUTHORIZED"), "entry_method": "KEYED"}
                payment["card_details"] = {**details, "card": card}
            case "CASH":
                payment["cash_details"] = {"buyer_supplied_money": dict(money)}
            case "EXTERNAL":
                outside = described.get("transaction", "elsewhere")
                payment["external_details"] = {"type": "OTHER", "source": "Practice", "source_id": outside}
        self.payments[payment["id"]] = payment
        refunds = [
            self._refund(
                payment,
                each.get("amount_minor", money["amount"]),
                each.get("reason"),
                each.get("status", "COMPLETED"),
                is_seed=True,
            )["id"]
            for each in described.get("refunds", ())
        ]
        dispute = described.get("dispute")
        return {
            "id": payment["id"],
            "amount_minor": money["amount"],
            "version_token": payment["version_token"],
            "refunds": refunds,
            "dispute": self._open_dispute(payment, dispute, is_seed=True)["id"]
            if dispute is not None
            else None,
        }

    def _seed_time(self, described: Record, default: str = "") -> str:
        return (
            _stamp(_time(described["created_at"])) if "created_at" in described else (default or self._now())
        )

    def settle(self, data: Record) -> Record:
        match data:
            case {"refund": str(id), "status": str(status)}:
                refund = self._known(self.refunds, id)
                self._move_refund(refund, status)
                return copy.deepcopy(refund)
            case {"payment": str(id), "status": "CANCELED"}:
                payment = self._known(self.payments, id)
                self._release(payment, "square")
                return copy.deepcopy(payment)
            case {"payment": str(id), "status": str(status)}:
                payment = self._known(self.payments, id)
                self._move_payment(payment, status)
                return copy.deepcopy(payment)
            case {"payment": str(id), "open_dispute": dict(described)}:
                return copy.deepcopy(self._open_dispute(self._known(self.payments, id), described))
            case {"payment": str(id), "dashboard_refund": dict(described)}:
                return self._dashboard_refund(self._known(self.payments, id), described)
            case {"dispute": str(id), "status": str(status)}:
                dispute = self._known(self.disputes, id)
                self._move_dispute(dispute, status)
                return copy.deepcopy(dispute)
            case {"order": str(id)}:
                return self._settle_order(self._known(self.orders, id), data)
            case {"stock": str(id)}:
                places = {x: n for x, n in self.stock.items() if id in (x[0], self.items[x[0]]["sku"])}
                if not places:
                    raise NoSuchObjectError(f"no stock of {id!r} at the practice Square")
                return {"stock": sum(places.values()), "locations": {x[1]: n for x, n in places.items()}}
            case {"token": "expired"}:
                ending = [each for each, ends in self.tokens.items() if ends is not None]
                self.tokens |= dict.fromkeys(ending, self.world.clock())
                return {"tokens": len(ending)}
            case _:
                raise ValueError("settle what? see the module's docstring")

    def _settle_order(self, order: Record, data: Record) -> Record:
        """What a person at the dashboard does to an order."""
        draft = copy.deepcopy(order)
        moved = []
        try:
            match data:
                case {"fulfillment": str(uid), "status": str(state)}:
                    moved.append(self._move_fulfillment(draft, {"uid": uid, "state": state}))
                case {"status": "COMPLETED" | "CANCELED" as state}:
                    self._move_order(draft, state)
                case {"metadata": dict(metadata)}:
                    draft["metadata"] |= metadata
                case _:
                    raise ValueError("an order is settled with a fulfillment, a status or metadata")
        except RefusalError as refused:
            raise ValueError(refused.answer.body["errors"][0]["detail"]) from refused
        draft["updated_at"] = self._now()
        if "version" in draft:
            draft["version"] += 1
        is_cancelled = order["state"] != "CANCELED" == draft["state"]
        order.clear()
        order.update(draft)
        self._book_order(order, moved, is_cancelled, None, None)
        self._tell("order.updated", order["id"])
        return self._show_order(order)

    def _dashboard_refund(self, payment: Record, described: Record) -> Record:
        left = payment["total_money"]["amount"] - _sum(self._refunds_of(payment), "COMPLETED", "PENDING")
        amount = described.get("amount_minor", left)
        if payment["status"] != "COMPLETED" or not 0 < amount <= left:
            raise ValueError("the dashboard would not refund that either")
        refund = self._refund(payment, amount, described.get("reason"), "PENDING")
        self._book_refund(refund, "dashboard")
        return copy.deepcopy(refund)

    def _known(self, objects: Mapping[str, Record], id: str) -> Record:
        if id not in objects:
            raise NoSuchObjectError(f"no object {id!r} at the practice Square")
        return objects[id]

    def _now(self) -> str:
        return _stamp(self.world.clock())


# ---------------------------------------------------------------- shapes


def _refusal(code: str, detail: str, field: str | None = None) -> Answer:
    category, status = _CODES.get(code, ("INVALID_REQUEST_ERROR", 400))
    error = {"category": category, "code": code, "detail": detail}
    return Answer(status, {"errors": [error | ({"field": field} if field else {})]})


def _money(amount: int, currency: str) -> Record:
    return {"amount": amount, "currency": currency}


def _sum(refunds: Sequence[Record], *statuses: str) -> int:
    return sum(each["amount_money"]["amount"] for each in refunds if each["status"] in statuses)


def _tender(payment: Record) -> Record:
    kind = _TENDERS.get(payment["source_type"], "OTHER")
    tender: Record = {
        "id": payment["id"],
        "location_id": payment["location_id"],
        "transaction_id": payment["order_id"],
        "created_at": payment["created_at"],
        "amount_money": dict(payment["total_money"]),
        "type": kind,
        "payment_id": payment["id"],
    }
    if kind == "CARD":
        details = payment["card_details"]
        tender["card_details"] = {
            name: copy.copy(details[name]) for name in ("status", "card", "entry_method")
        }
    if kind == "CASH":
        tender["cash_details"] = {"buyer_tendered_money": dict(payment["total_money"])}
    return tender


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.upper())


def _is_between(text: str | None, start: datetime | None, end: datetime | None) -> bool:
    """Whether a stored time lies in the range, both ends included; without a range everything does."""
    if start is None and end is None:
        return True
    if text is None:
        return False
    at = _time(text)
    return (start is None or at >= start) and (end is None or at <= end)


def _is_back(was: str, state: str) -> bool:
    return _FULFILLMENT_STATES.index(state) < _FULFILLMENT_STATES.index(was)


def _fingerprint(call: Call) -> str:
    return f"{call.method} {call.path} {json.dumps(call.json, sort_keys=True)}"


# ---------------------------------------------------------------- reading parameters


def _one(objects: Mapping[str, Record], kind: str, id: str) -> Record:
    if id not in objects:
        fail("NOT_FOUND", f"Could not find {kind} with id: {id}", f"{kind}_id")
    return objects[id]


def _text(sent: Mapping[str, Any], name: str, prefix: str = "", most: int | None = None) -> str | None:
    value = sent.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        fail("EXPECTED_STRING", f"{name} is a text.", f"{prefix}{name}")
    size = len(value.encode()) if name == "idempotency_key" else len(value)
    if most is not None and size > most:
        fail("VALUE_TOO_LONG", f"{name} has at most {most} characters.", f"{prefix}{name}")
    return value


def _object(sent: Mapping[str, Any], name: str, prefix: str = "") -> Record:
    value = sent.get(name)
    if value is not None and not isinstance(value, dict):
        fail("EXPECTED_OBJECT", f"{name} is an object.", f"{prefix}{name}")
    return value or {}


def _list(sent: Mapping[str, Any], name: str, prefix: str = "") -> list[Record]:
    value = sent.get(name)
    if value is not None and not isinstance(value, list):
        fail("EXPECTED_ARRAY", f"{name} is an array.", f"{prefix}{name}")
    if any(not isinstance(each, dict) for each in value or ()):
        fail("EXPECTED_OBJECT", f"{name} holds objects.", f"{prefix}{name}")
    return value or []


def _choice(sent: Mapping[str, Any], name: str, known: Sequence[str], default: str, prefix: str = "") -> str:
    value = sent.get(name)
    if value is None:
        return default
    _choices((value,), known, f"{prefix}{name}")
    return str(value)


def _choices(values: Any, known: Sequence[str], field: str) -> None:
    if isinstance(values, str | Mapping):
        fail("EXPECTED_ARRAY", f"{field} is an array.", field)
    for value in values:
        if value not in known:
            fail("INVALID_ENUM_VALUE", f"`{value}` is not a valid enum value.", field)


def _moment(sent: Mapping[str, Any], name: str, prefix: str = "") -> datetime | None:
    if (text := _text(sent, name, prefix)) is None:
        return None
    try:
        if _TIMESTAMP.fullmatch(text):
            return _time(text)
    except ValueError:
        pass  # a well-formed text may still name a day that does not exist
    fail("INVALID_TIME", f"{name} is an RFC 3339 time.", f"{prefix}{name}")


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
        fail("EXPECTED_INTEGER", f"{name} is an integer.", name)
    return int(value)


def _limit(sent: Mapping[str, Any], default: int, most: int | None) -> int:
    limit = _whole(sent.get("limit", default), "limit")
    if limit < 1:
        fail("VALUE_TOO_LOW", "limit is at least 1.", "limit")
    if most is not None and limit > most:
        fail("VALUE_TOO_HIGH", f"limit is at most {most}.", "limit")
    return limit


def _page(
    found: list[Record], sent: Mapping[str, Any], limit: int, call: Call
) -> tuple[list[Record], Record]:
    """One page and, where more follow, its cursor. A cursor works with the query that it came from, and no other."""
    query = {name: value for name, value in sent.items() if name not in ("cursor", "limit")}
    mark = hashlib.sha256(f"{call.operation} {json.dumps(query, sort_keys=True)}".encode()).hexdigest()[:12]
    start = 0
    if cursor := sent.get("cursor"):
        try:
            offset, _, owner = base64.urlsafe_b64decode(str(cursor)).decode().partition(":")
            start = int(offset)
        except ValueError:
            owner = ""
        if owner != mark:
            fail("INVALID_CURSOR", "The cursor does not belong to this query.", "cursor")
    end = start + limit
    if end >= len(found):
        return found[start:], {}
    return found[start:end], {"cursor": base64.urlsafe_b64encode(f"{end}:{mark}".encode()).decode()}


def _is_chosen(body: Mapping[str, Any], shown: Record) -> bool:
    """Whether a change or a count is of the items and places asked for; an absent list asks for all."""
    for names, name in (("catalog_object_ids", "catalog_object_id"), ("location_ids", "location_id")):
        if (wanted := body.get(names)) is not None:
            if not isinstance(wanted, list):
                fail("EXPECTED_ARRAY", f"{names} is an array.", names)
            if shown[name] not in wanted:
                return False
    return True


def _with_uid(found: list[Record], sent: Record, field: str) -> Record:
    for each in found:
        if each["uid"] == sent.get("uid"):
            return each
    fail("BAD_REQUEST", "The practice Square changes what is there; it adds nothing.", f"{field}.uid")


def _metadata(sent: Record) -> dict[str, str]:
    found = _object(sent, "metadata", "order.")
    if len(found) > 10:
        fail("TOO_MANY_MAP_ENTRIES", "At most 10 entries.", "order.metadata")
    for key, value in found.items():
        if not _METADATA_KEY.fullmatch(key):
            fail("INVALID_VALUE", "A key has 1 to 60 characters of A-Z, a-z, 0-9, _ and -.", "order.metadata")
        _text(found, key, "order.metadata.", 255)
        if value is None:
            fail("EXPECTED_STRING", "A value is a text.", f"order.metadata.{key}")
    return found


def _clear_fields(draft: Record, paths: Any) -> None:
    """`fields_to_clear`: of the dotted paths only those of texts and metadata are practised."""
    for path in paths or ():
        head, _, rest = str(path).partition(".")
        if head == "metadata":
            draft["metadata"] = {k: v for k, v in draft["metadata"].items() if rest and k != rest}
        elif head in _ORDER_TEXTS and not rest:
            draft.pop(head, None)
        else:
            fail("INVALID_VALUE", f"The practice Square does not clear {path}.", "fields_to_clear")
