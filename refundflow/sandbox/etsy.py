"""A practice Etsy: the Open API v3 as far as it can be read, below `/etsy/v3/`, and the token endpoint.

`/v3/application/…`: receipts, payments and their adjustments, the payment account's ledger, openapi-ping, users/me, scopes.
`/v3/public/oauth/token`: only `refresh_token`; consent with a code is a person's business. Shapes: the vendor's own OpenAPI
document (3.0.0, copy of 2026-08-17); error bodies and traps: issues of github.com/etsy/open-api (116, 197, 302, 339, 345, 346,
422, 477, 513, 519, 588, 604, 629) and its discussions 1529 and 1564; read 2026-11-25. Where they are silent or disagree,
`Habits` names the practised reading.

There is no operation that cancels or refunds; a person does both in Shop Manager (`settle`), and Etsy pays the buyer.

Strict about: `x-api-key` as `keystring:secret` on every call (403), bearer tokens `<user id>.<token>`, their hour and scopes, whose
shop it is, refresh tokens that are good once, whole numbers and times in seconds, the ledger's two times and its 31 days. Unknown
query parameters are passed over.

Traps that are real: a cancel or refund is not found by `min_last_modified`; a limit above 100 is cut to 100 without a word; an
adjustment that is OPEN says `is_success`; an unpaid receipt can be cancelled without any refund; `sku` may be null.

`seed({"receipts"?: [{"id"?, "currency"? ("USD"), "divisor"? (of Money objects), "created"? (epoch s), "is_paid"? (True),
"is_shipped"? (False), "name"?, "email"?, "lines": [{"id"?, "listing_id"?, "product_id"?, "sku"?, "title"?, "quantity"?,
"unit_minor"}], "shipping_minor"?, "tax_minor"?, "fees_minor"?, "buyer_currency"?, "buyer_rate"?}], "scopes"?: […],
"habits"?: {…}})` returns the ids made. Seeded things are not in the book and send no events.

`settle`, as a person in Shop Manager, takes `{"receipt": id, "cancel": true, "refund"?: {…} | null}` (a paid one is refunded in full;
the object says otherwise, null leaves the refund for later), `{"receipt": id, "refund": {"amount_minor"?, "lines"?: {transaction
id: minor}, "shipping_minor"?, "tax_minor"?, "reason"?, "note"?, "status"?: "OPEN"}}` (`{}`: all that is left), `{"receipt": id, "pay":
true}` and `{"receipt": id, "ship": true}`; as time: `{"adjustment": id, "status": "REFUNDED" | "REFUND_FAILED" | "ERROR"}`; for the
credentials `{"token": "expired"}` and `{"authorisation": "revoked" | "granted"}` (granted: `REFRESH_TOKEN` is good again).
slow_pending and late_failure have no counterpart here, since no call moves money: OPEN and REFUND_FAILED are theirs.

Webhooks: thin, Standard Webhooks signature with a `whsec_` secret. order.paid, order.canceled and order.shipped are told by settle;
order.delivered only when asked for. No event tells of a refund.

Book: `cancel_order`, `refund` (when it is issued, OPEN too), `update_refund` and `refund_failed`; `pay_order`, `ship_order`. `target` has
receipt and payment; `reference` is the note of who refunded.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import count
from typing import Any, ClassVar, Final, NoReturn

from refundflow.domain.money import Money, exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

KEYSTRING: Final = "practiceetsykeystring00"
SHARED_SECRET: Final = "practiceetsysecret"  # noqa: S105 (practice secrets, known to everybody)
API_KEY: Final = f"{KEYSTRING}:{SHARED_SECRET}"
USER_ID: Final = 900100200
SHOP_ID: Final = 12345678
REFRESH_TOKEN: Final = f"{USER_ID}.practice-etsy-refresh"
WEBHOOK_SECRET: Final = "whsec_cHJhY3RpY2UtZXRzeS13ZWJob29rLTI0"  # noqa: S105 (a practice secret, known to everybody)
APPLICATION_ID: Final = 700800900
LEDGER_ID: Final = 5005005005

TOKEN_LIFE_S: Final = 3600
REFRESH_LIFE: Final = timedelta(days=90)
LEDGER_WINDOW_S: Final = 31 * 86_400
PAGE_SIZE: Final = 25
PAGE_SIZE_MOST: Final = 100
EARLIEST: Final = 946_684_800
TOPICS: Final = ("order.paid", "order.canceled", "order.shipped", "order.delivered")

_SCOPES: Final[Mapping[str, str]] = {
    "get_me": "shops_r",
    **dict.fromkeys(
        (
            "list_receipts",
            "get_receipt",
            "get_receipt_payments",
            "get_payments",
            "list_ledger_entries",
            "get_ledger_payments",
        ),
        "transactions_r",
    ),
}
_REFUSALS: Final[Mapping[str, Answer]] = {
    "invalid_token": Answer(401, {"error": "invalid_token", "error_description": "access token is expired"}),
    "insufficient_scope": Answer(
        403, {"error": "insufficient_scope", "error_description": "Insufficient scope"}
    ),
    "no_secret": Answer(403, {"error": "Shared secret is required in x-api-key header."}),
    "not_owner": Answer(403, {"error": f"User does not own Shop {SHOP_ID}"}),
    "not_found": Answer(404, {"error": "Resource not found"}),
    "bad_request": Answer(400, {"error": "Invalid request"}),
    "invalid_grant": Answer(400, {"error": "invalid_grant", "error_description": "refresh_token is revoked"}),
}
_ORDERS: Final = {
    **dict.fromkeys(("asc", "ascending", "up"), False),
    **dict.fromkeys(("desc", "descending", "down"), True),
}
# What may become of an adjustment; the last word about a refund can still be taken back.
_NEXT: Final[Mapping[str, tuple[str, ...]]] = {
    "OPEN": ("REFUNDED", "REFUND_FAILED", "ERROR"),
    "REFUNDED": ("REFUND_FAILED",),
}


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or what its words and its users' reports disagree on.

    `is_change_filtered`: whether min_last_modified and max_last_modified see a cancel or refund. `is_refund_an_update`: whether a
    refund moves `updated_timestamp`. `adjustments_delay_s`: how long a refund is hidden from receipt, payment and ledger.
    `is_open_success`: whether an OPEN adjustment already says `is_success`. `posts_at_shipping`: the payment reaches the ledger when
    the goods leave, so that a refund before that is never seen there. `is_refund_entry_resolved`: whether a refund's ledger entry
    leads to its payment; else only `payment_adjustments[].payment_id` does. `is_ledger_newest_first`: how entries are ordered.
    `are_references_numbers`: `reference_id` as a number, as seen, not as the text described. `is_limit_cut`: a limit above 100
    means 100, else 400. `is_status_capitalised`: "Fully Refunded", as seen. `is_email_granted`: whether `buyer_email` is told.
    `is_refresh_single_use`: a refresh token is revoked by its use. `is_limited`: `per_second` and `per_day` are enforced, not only
    told. `is_signature_versioned`: `v1,` before the signature. `is_shop_id_number`: in webhooks, as seen.
    """

    is_change_filtered: bool = False
    is_refund_an_update: bool = True
    adjustments_delay_s: float = 0.0
    is_open_success: bool = True
    posts_at_shipping: bool = False
    is_refund_entry_resolved: bool = True
    is_ledger_newest_first: bool = False
    are_references_numbers: bool = False
    is_limit_cut: bool = True
    is_status_capitalised: bool = False
    is_email_granted: bool = False
    is_refresh_single_use: bool = True
    is_limited: bool = False
    per_second: int = 10
    per_day: int = 10_000
    is_signature_versioned: bool = True
    is_shop_id_number: bool = False


@dataclass(slots=True)
class _Line:
    id: int
    listing_id: int
    product_id: int
    sku: str | None
    title: str
    quantity: int
    unit_minor: int


@dataclass(slots=True)
class _Adjustment:
    """A refund. `items`: (TRANS, SHIP, TAX or none; minor units; transaction). `is_posted`: the ledger shows it."""

    id: int
    at: int
    updated: int
    status: str
    items: list[tuple[str | None, int, int | None]]
    fee_minor: int
    reason: str
    note: str | None
    is_posted: bool = False

    @property
    def minor(self) -> int:
        return sum(minor for _, minor, _ in self.items)


@dataclass(slots=True)
class _Receipt:
    """`changed`: what the filter by last change sees; `updated`: what the receipt says."""

    id: int
    payment_id: int
    currency: str
    divisor: int
    created: int
    updated: int
    changed: int
    name: str
    email: str
    lines: list[_Line]
    shipping_minor: int
    tax_minor: int
    fees_minor: int
    buyer_currency: str
    buyer_rate: Decimal
    paid: int | None = None
    shipped: int | None = None
    is_canceled: bool = False
    posted: tuple[int, int] | None = None
    adjustments: list[_Adjustment] = field(default_factory=list)

    @property
    def subtotal_minor(self) -> int:
        return sum(line.quantity * line.unit_minor for line in self.lines)

    @property
    def gross_minor(self) -> int:
        return self.subtotal_minor + self.shipping_minor + self.tax_minor

    @property
    def refunded_minor(self) -> int:
        """Issued and not failed."""
        return sum(each.minor for each in self.adjustments if each.status in _NEXT)

    def money(self, minor: int) -> Record:
        return {
            "amount": minor * self.divisor // 10 ** exponent_of(self.currency),
            "divisor": self.divisor,
            "currency_code": self.currency,
        }

    def buyer_minor(self, minor: int) -> int:
        """The same amount in the buyer's own currency."""
        shift = exponent_of(self.buyer_currency) - exponent_of(self.currency)
        return int((minor * self.buyer_rate).scaleb(shift).to_integral_value())


@dataclass(frozen=True, slots=True)
class _Entry:
    id: int
    sequence: int
    kind: str
    minor: int
    balance: int
    at: int
    receipt: _Receipt
    adjustment: _Adjustment | None


def fail(status: int, error: str, description: str = "") -> NoReturn:
    """Ends the call with the vendor's error; only the words of OAuth have a description."""
    body = {"error": error}
    if description:
        body["error_description"] = description
    raise RefusalError(Answer(status, body))


def signature_of(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    """A webhook's signature in base 64. Raises ValueError for a secret that is not `whsec_` and base 64."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as wrong:
        raise ValueError("an etsy webhook secret is whsec_ and base 64") from wrong
    signed = f"{event_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Etsy(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "etsy"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        root, shop = "/v3/application", "/v3/application/shops/{shop_id}"
        ledger = f"{shop}/payment-account/ledger-entries"
        self._routes = (
            Route("POST", "/v3/public/oauth/token", "refresh_token", self._refresh, is_open=True),
            Route("GET", f"{root}/openapi-ping", "ping", self._ping),
            Route("POST", f"{root}/scopes", "token_scopes", self._token_scopes),
            Route("GET", f"{root}/users/me", "get_me", self._get_me),
            Route("GET", f"{shop}/receipts", "list_receipts", self._list_receipts),
            Route("GET", f"{shop}/receipts/{{receipt_id}}", "get_receipt", self._get_receipt),
            Route(
                "GET",
                f"{shop}/receipts/{{receipt_id}}/payments",
                "get_receipt_payments",
                self._get_receipt_payments,
            ),
            Route("GET", f"{shop}/payments", "get_payments", self._get_payments),
            Route("GET", ledger, "list_ledger_entries", self._list_entries),
            Route("GET", f"{ledger}/payments", "get_ledger_payments", self._get_ledger_payments),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.scopes: tuple[str, ...] = ("transactions_r", "shops_r", "listings_r")
        self.receipts: dict[int, _Receipt] = {}
        self.entries: list[_Entry] = []
        self.events: dict[tuple[str, int], Event] = {}
        self.access: dict[str, datetime] = {}
        self.refreshes: dict[str, datetime] = {}
        self.revoked: set[str] = set()
        self._calls: deque[datetime] = deque()
        self._ids = count(3_000_000_001)
        self._grant()

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.scopes = tuple(data.get("scopes", self.scopes))
            made = [self._read_receipt(each) for each in data.get("receipts", ())]
        except (KeyError, TypeError, InvalidOperation) as wrong:
            raise ValueError(f"cannot seed etsy: {wrong!r}") from wrong
        keys = [each.id for each in made]
        if len({*keys, *self.receipts}) < len(keys) + len(self.receipts):
            raise ValueError("cannot seed etsy: a receipt of that id is there already")
        for receipt in made:
            self.receipts[receipt.id] = receipt
            if receipt.paid is not None and (
                receipt.shipped is not None or not self.habits.posts_at_shipping
            ):
                self._post_payment(receipt, receipt.shipped or receipt.paid)
        return {
            "receipts": [
                {
                    "id": each.id,
                    "payment_id": each.payment_id if each.paid is not None else None,
                    "transactions": [line.id for line in each.lines],
                    "total_minor": each.gross_minor,
                }
                for each in made
            ]
        }

    def settle(self, data: Record) -> Record:
        match data:
            case {"receipt": key, "cancel": True}:
                return self._cancel(self._known(key), data.get("refund", {}))
            case {"receipt": key, "refund": dict(asked)}:
                adjustment = self._issue(self._known(key), asked)
                return {"receipt": int(key), "adjustment": adjustment.id, "amount_minor": adjustment.minor}
            case {"receipt": key, "pay": True}:
                return self._pay(self._known(key))
            case {"receipt": key, "ship": True}:
                return self._ship(self._known(key))
            case {"adjustment": key, "status": str(status)}:
                return self._decide(_whole(key), status)
            case {"token": "expired"}:
                self.access.clear()
                return {"token": "expired"}
            case {"authorisation": "revoked"}:
                self.access.clear()
                self.revoked |= set(self.refreshes)
                return {"authorisation": "revoked"}
            case {"authorisation": "granted"}:
                self._grant()
                return {"authorisation": "granted", "refresh_token": REFRESH_TOKEN}
            case _:
                raise ValueError("etsy settles a receipt, an adjustment, a token or an authorisation")

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """The application's key on every call; on shop data also whose token it is, and what it may see."""
        keystring, _, secret = call.headers.get("x-api-key", "").partition(":")
        if not keystring:
            return Answer(403, {"error": "Missing x-api-key header"})
        if not secret:
            return _REFUSALS["no_secret"]
        if not hmac.compare_digest(f"{keystring}:{secret}".encode(), API_KEY.encode()):
            return Answer(403, {"error": "Invalid API key"})
        if (scope := _SCOPES.get(call.operation)) is None:
            return None
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return Answer(401, {"error": "Missing authorization header"})
        if (refusal := self._token_refusal(token)) is not None:
            return refusal
        return None if scope in self.scopes else _REFUSALS["insufficient_scope"]

    def begin(self, call: Call) -> Answer | None:
        """Counts the call; the token endpoint is not counted."""
        if call.operation == "refresh_token":
            return None
        now = self.world.clock()
        while self._calls and self._calls[0] <= now - timedelta(days=1):
            self._calls.popleft()
        if self.habits.is_limited:
            is_daily = len(self._calls) >= self.habits.per_day
            if is_daily or self._calls_this_second() >= self.habits.per_second:
                return Answer(429, _limit_error(is_daily=is_daily), self._limits(429, is_daily=is_daily))
        self._calls.append(now)
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Every counted answer says what is left; a 429 also how long to wait."""
        if call.operation == "refresh_token":
            return answer
        limits = self._limits(answer.status, is_daily=_is_daily(call))
        headers = {"x-etsy-request-uuid": call.request_id, **limits, **answer.headers}
        return replace(answer, headers=headers)

    def unauthorised(self, call: Call) -> Answer:
        return _REFUSALS["invalid_grant" if call.operation == "refresh_token" else "invalid_token"]

    def refuse(self, call: Call) -> Answer:
        """The refusal that the fault's `code` names; without one, what the operation is most often refused with."""
        code = call.fault.code if call.fault is not None else ""
        usual = "invalid_grant" if call.operation == "refresh_token" else "not_found"
        return _REFUSALS.get(code or usual) or Answer(400, {"error": code})

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _REFUSALS["not_found"]

    def failure(self, call: Call, status: int) -> Any:
        """A 429 is the second's limit; a fault with the code `daily` is the day's."""
        return _limit_error(is_daily=_is_daily(call)) if status == 429 else {"error": "Server Error"}

    def _calls_this_second(self) -> int:
        since = self.world.clock() - timedelta(seconds=1)
        return sum(1 for at in self._calls if at > since)

    def _limits(self, status: int, *, is_daily: bool) -> dict[str, str]:
        second = max(0, self.habits.per_second - self._calls_this_second())
        day = max(0, self.habits.per_day - len(self._calls))
        if status == 429:
            second, day = (second, 0) if is_daily else (0, day)
        headers = {
            "x-limit-per-second": str(self.habits.per_second),
            "x-remaining-this-second": str(second),
            "x-limit-per-day": str(self.habits.per_day),
            "x-remaining-today": str(day),
        }
        return {**headers, "retry-after": "86400" if is_daily else "1"} if status == 429 else headers

    # ------------------------------------------------------------ tokens

    def _grant(self) -> None:
        self.revoked.discard(REFRESH_TOKEN)
        self.refreshes[REFRESH_TOKEN] = self.world.clock() + REFRESH_LIFE

    def _token_refusal(self, token: str) -> Answer | None:
        if token not in self.access:
            description = "access_token is invalid"
        elif self.access[token] <= self.world.clock():
            description = "access token is expired"
        else:
            return None
        return Answer(401, {"error": "invalid_token", "error_description": description})

    def _refresh(self, call: Call) -> Answer:
        """A new pair of tokens; the old access token lives on to its end."""
        asked = _fields(call)
        for name in ("grant_type", "client_id", "refresh_token"):
            if not isinstance(asked.get(name), str) or not asked[name]:
                fail(400, "invalid_request", f"{name} is required")
        if asked["grant_type"] != "refresh_token":
            fail(400, "unsupported_grant_type", "this practice vendor only refreshes")
        if asked["client_id"] != KEYSTRING:
            fail(400, "invalid_client", "client_id is the keystring alone")
        token = asked["refresh_token"]
        if token in self.revoked:
            fail(400, "invalid_grant", "refresh_token is revoked")
        if token not in self.refreshes:
            fail(400, "invalid_grant", "refresh_token is invalid")
        if self.refreshes[token] <= self.world.clock():
            fail(400, "invalid_grant", "refresh_token is expired")
        if self.habits.is_refresh_single_use:
            self.revoked.add(token)
        access, refresh = (self.mint(f"{USER_ID}.", 60) for _ in range(2))
        self.access[access] = self.world.clock() + timedelta(seconds=TOKEN_LIFE_S)
        self.refreshes[refresh] = self.world.clock() + REFRESH_LIFE
        return Answer(
            200,
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": TOKEN_LIFE_S,
                "refresh_token": refresh,
            },
        )

    def _ping(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        return Answer(200, {"application_id": APPLICATION_ID})

    def _token_scopes(self, call: Call) -> Answer:
        """A look at a token by the application itself: no bearer needed."""
        token = dict(call.form_pairs).get("token", "")
        if not token:
            fail(400, "Missing required parameter: token")
        if (refusal := self._token_refusal(token)) is not None:
            return refusal
        return Answer(200, {"scopes": list(self.scopes)})

    def _get_me(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        return Answer(200, {"user_id": USER_ID, "shop_id": SHOP_ID})

    # ------------------------------------------------------------ receipts

    def _list_receipts(self, call: Call) -> Answer:
        self._check_shop(call)
        asked = dict(call.query_pairs)
        limit, offset = self._page(asked)
        sort_on, order = asked.get("sort_on", "created"), asked.get("sort_order", "desc")
        if sort_on not in ("created", "updated", "receipt_id") or order not in _ORDERS:
            fail(400, "Invalid value for sort_on or sort_order")
        flags = {
            name: _flag(asked, name) for name in ("was_paid", "was_shipped", "was_delivered", "was_canceled")
        }
        bounds = {
            name: _number(asked, name, EARLIEST)
            for name in ("min_created", "max_created", "min_last_modified", "max_last_modified")
        }

        def is_wanted(each: _Receipt) -> bool:
            facts = {
                "was_paid": each.paid is not None,
                "was_shipped": each.shipped is not None,
                "was_delivered": False,
                "was_canceled": each.is_canceled,
            }
            return (
                all(wanted in (None, facts[name]) for name, wanted in flags.items())
                and _is_between(each.created, bounds["min_created"], bounds["max_created"])
                and _is_between(each.changed, bounds["min_last_modified"], bounds["max_last_modified"])
            )

        found = sorted(
            filter(is_wanted, self.receipts.values()),
            key=lambda each: (0 if sort_on == "receipt_id" else getattr(each, sort_on), each.id),
            reverse=_ORDERS[order],
        )
        page = [self._shown_receipt(each) for each in found[offset : offset + limit]]
        return Answer(200, {"count": len(found), "results": page})

    def _get_receipt(self, call: Call) -> Answer:
        return Answer(200, self._shown_receipt(self._receipt(call)))

    def _status(self, receipt: _Receipt) -> str:
        returned = sum(each.minor for each in self._visible(receipt) if self._is_success(each))
        if receipt.is_canceled:
            status = "canceled"
        elif receipt.paid is None:
            status = "payment processing"
        elif returned:
            status = "fully refunded" if returned >= receipt.gross_minor else "partially refunded"
        else:
            status = "completed" if receipt.shipped is not None else "paid"
        return status.title() if self.habits.is_status_capitalised else status

    def _shown_receipt(self, receipt: _Receipt) -> Record:
        money = receipt.money
        return {
            "receipt_id": receipt.id,
            "receipt_type": 0,
            "seller_user_id": USER_ID,
            "seller_email": "seller@shop.example",
            "buyer_user_id": 400_300_200,
            "buyer_email": receipt.email if self.habits.is_email_granted else None,
            "name": receipt.name,
            **dict.fromkeys(("first_line", "second_line", "city", "state", "zip", "formatted_address")),
            "status": self._status(receipt),
            "country_iso": "US",
            "payment_method": "cc",
            **dict.fromkeys(
                ("payment_email", "message_from_seller", "message_from_buyer", "message_from_payment")
            ),
            "is_paid": receipt.paid is not None,
            "is_shipped": receipt.shipped is not None,
            **_times(receipt.created, receipt.updated),
            "is_gift": False,
            "gift_message": "",
            "gift_sender": "",
            "grandtotal": money(receipt.gross_minor),
            "subtotal": money(receipt.subtotal_minor),
            "total_price": money(receipt.subtotal_minor),
            "total_shipping_cost": money(receipt.shipping_minor),
            "total_tax_cost": money(receipt.tax_minor),
            "total_vat_cost": money(0),
            "discount_amt": money(0),
            "gift_wrap_price": money(0),
            "shipments": []
            if receipt.shipped is None
            else [
                {
                    "receipt_shipping_id": receipt.id + 1,
                    "shipment_notification_timestamp": receipt.shipped,
                    "carrier_name": "usps",
                    "tracking_code": "PRACTICE",
                }
            ],
            "transactions": [_shown_line(receipt, line) for line in receipt.lines],
            "refunds": [
                {
                    "amount": money(each.minor),
                    "created_timestamp": each.at,
                    "reason": each.reason,
                    "note_from_issuer": each.note,
                    "status": each.status,
                }
                for each in self._visible(receipt)
            ],
        }

    # ------------------------------------------------------------ payments and ledger

    def _get_receipt_payments(self, call: Call) -> Answer:
        receipt = self._receipt(call)
        return self._payments([receipt] if receipt.paid is not None else [])

    def _get_payments(self, call: Call) -> Answer:
        self._check_shop(call)
        wanted = _numbers(call, "payment_ids")
        return self._payments(
            each for each in self.receipts.values() if each.payment_id in wanted and each.paid is not None
        )

    def _get_ledger_payments(self, call: Call) -> Answer:
        """The payments that the entries stand for; an entry that stands for none gives none."""
        self._check_shop(call)
        wanted = _numbers(call, "ledger_entry_ids")
        meant = {
            entry.receipt.id: entry.receipt
            for entry in self._seen_entries()
            if entry.id in wanted and (entry.adjustment is None or self.habits.is_refund_entry_resolved)
        }
        return self._payments(meant.values())

    def _payments(self, receipts: Iterable[_Receipt]) -> Answer:
        shown = [self._shown_payment(each) for each in receipts]
        return Answer(200, {"count": len(shown), "results": shown})

    def _list_entries(self, call: Call) -> Answer:
        self._check_shop(call)
        asked = dict(call.query_pairs)
        bounds = []
        for name in ("min_created", "max_created"):
            if (bound := _number(asked, name, EARLIEST)) is None:
                fail(400, f"Missing required parameter: {name}")
            bounds.append(bound)
        if bounds[1] - bounds[0] > LEDGER_WINDOW_S:
            fail(
                400,
                "Time window between min_created and max_created must be no more than "
                f"{LEDGER_WINDOW_S} seconds (31 days).",
            )
        limit, offset = self._page(asked)
        found = [each for each in self._seen_entries() if _is_between(each.at, *bounds)]
        if self.habits.is_ledger_newest_first:
            found.reverse()
        page = [self._shown_entry(each) for each in found[offset : offset + limit]]
        return Answer(200, {"count": len(found), "results": page})

    def _shown_payment(self, receipt: _Receipt) -> Record:
        visible = self._visible(receipt)
        good = [each for each in visible if self._is_success(each)]
        gross = receipt.gross_minor - sum(each.minor for each in good)
        fees = receipt.fees_minor - sum(each.fee_minor for each in good)
        paid = receipt.paid or receipt.created
        return {
            "payment_id": receipt.payment_id,
            "buyer_user_id": 400_300_200,
            "shop_id": SHOP_ID,
            "receipt_id": receipt.id,
            **_three("amount", receipt, (receipt.gross_minor, receipt.fees_minor)),
            **_three("posted", receipt, receipt.posted),
            **_three("adjusted", receipt, (gross, fees) if good else None),
            "currency": receipt.currency,
            "shop_currency": receipt.currency,
            "buyer_currency": receipt.buyer_currency,
            "shipping_user_id": 400_300_200,
            "shipping_address_id": 1,
            "billing_address_id": 0,
            "status": "settled" if receipt.posted is not None else "authed",
            "shipped_timestamp": receipt.shipped,
            **_times(paid, max([paid, *(each.updated for each in visible)])),
            "payment_adjustments": [self._shown_adjustment(receipt, each) for each in visible],
        }

    def _shown_adjustment(self, receipt: _Receipt, adjustment: _Adjustment) -> Record:
        return {
            "payment_adjustment_id": adjustment.id,
            "payment_id": receipt.payment_id,
            "status": adjustment.status,
            "is_success": self._is_success(adjustment),
            "user_id": USER_ID,
            "reason_code": adjustment.reason,
            "total_adjustment_amount": adjustment.minor,
            "shop_total_adjustment_amount": adjustment.minor,
            "buyer_total_adjustment_amount": receipt.buyer_minor(adjustment.minor),
            "total_fee_adjustment_amount": adjustment.fee_minor,
            **_times(adjustment.at, adjustment.updated),
            "payment_adjustment_items": [
                {
                    "payment_adjustment_id": adjustment.id,
                    "payment_adjustment_item_id": adjustment.id * 10 + index,
                    "adjustment_type": kind,
                    "amount": minor,
                    "shop_amount": minor,
                    "transaction_id": transaction,
                    "bill_payment_id": None,
                    "created_timestamp": adjustment.at,
                    "updated_timestamp": adjustment.updated,
                }
                for index, (kind, minor, transaction) in enumerate(adjustment.items, 1)
            ],
        }

    def _shown_entry(self, entry: _Entry) -> Record:
        adjustment = entry.adjustment
        reference = entry.receipt.payment_id if adjustment is None else adjustment.id
        return {
            "entry_id": entry.id,
            "ledger_id": LEDGER_ID,
            "sequence_number": entry.sequence,
            "amount": entry.minor,
            "currency": entry.receipt.currency,
            "description": entry.kind,
            "balance": entry.balance,
            "create_date": entry.at,
            "created_timestamp": entry.at,
            "ledger_type": entry.kind,
            "reference_type": "shop_payment" if adjustment is None else "payment_adjustment",
            "reference_id": reference if self.habits.are_references_numbers else str(reference),
            "parent_entry_id": 0,
            "payment_adjustments": []
            if adjustment is None
            else [self._shown_adjustment(entry.receipt, adjustment)],
        }

    def _is_success(self, adjustment: _Adjustment) -> bool:
        return adjustment.status == "REFUNDED" or (
            adjustment.status == "OPEN" and self.habits.is_open_success
        )

    def _is_visible(self, adjustment: _Adjustment | None) -> bool:
        return adjustment is None or adjustment.at + self.habits.adjustments_delay_s <= self._now()

    def _visible(self, receipt: _Receipt) -> list[_Adjustment]:
        return [each for each in receipt.adjustments if self._is_visible(each)]

    def _seen_entries(self) -> list[_Entry]:
        return [each for each in self.entries if self._is_visible(each.adjustment)]

    # ------------------------------------------------------------ what a person does in Shop Manager

    def _cancel(self, receipt: _Receipt, refund: Record | None) -> Record:
        if receipt.is_canceled:
            raise ValueError(f"receipt {receipt.id} is canceled already")
        # Read before anything is written: a wrong refund must not leave half a cancel behind.
        left = receipt.gross_minor - receipt.refunded_minor if receipt.paid is not None else 0
        items = _items(receipt, refund) if refund is not None and left else None
        receipt.is_canceled = True
        self._touch(receipt, is_update=True)
        self.book.write(
            "cancel_order",
            id=str(receipt.id),
            target={"receipt": receipt.id},
            reference=(refund or {}).get("note"),
        )
        # The event goes out as soon as the cancel begins, whatever becomes of the money.
        self.emit(self._event("order.canceled", receipt.id))
        made = None if items is None else self._issue(receipt, refund or {})
        return {
            "receipt": receipt.id,
            "cancel": True,
            "adjustment": made.id if made is not None else None,
            "amount_minor": made.minor if made is not None else 0,
        }

    def _issue(self, receipt: _Receipt, asked: Record) -> _Adjustment:
        """Refunds what is asked for, or all that is left; the fee comes back in proportion."""
        if receipt.paid is None:
            raise ValueError(f"receipt {receipt.id} was never paid")
        items = _items(receipt, asked)
        minor = sum(each for _, each, _ in items)
        before = receipt.refunded_minor
        fee = _share(receipt, before + minor) - _share(receipt, before)
        now = self._now()
        adjustment = _Adjustment(
            next(self._ids),
            now,
            now,
            asked.get("status", "REFUNDED"),
            items,
            fee,
            asked.get("reason", "other"),
            asked.get("note"),
        )
        receipt.adjustments.append(adjustment)
        self._touch(receipt, is_update=self.habits.is_refund_an_update)
        if receipt.posted is not None:
            adjustment.is_posted = True
            self._enter(receipt, "REFUND_GROSS", -minor, adjustment)
            self._enter(receipt, "REFUND_PROCESSING_FEE", fee, adjustment)
        self._note("refund", receipt, adjustment)
        return adjustment

    def _decide(self, key: int, status: str) -> Record:
        for receipt in self.receipts.values():
            for adjustment in receipt.adjustments:
                if adjustment.id != key:
                    continue
                if status not in _NEXT.get(adjustment.status, ()):
                    raise ValueError(f"adjustment {key} is {adjustment.status}: it cannot become {status!r}")
                adjustment.status, adjustment.updated = status, self._now()
                if status != "REFUNDED" and adjustment.is_posted:
                    self._enter(receipt, "REFUND_REVERSAL", adjustment.minor, adjustment)
                    self._enter(receipt, "REFUND_REVERSAL", -adjustment.fee_minor, adjustment)
                self._touch(receipt, is_update=self.habits.is_refund_an_update)
                self._note("update_refund" if status == "REFUNDED" else "refund_failed", receipt, adjustment)
                return {"adjustment": key, "status": status}
        raise NoSuchObjectError(f"etsy has no adjustment {key}")

    def _pay(self, receipt: _Receipt) -> Record:
        if receipt.paid is not None or receipt.is_canceled:
            raise ValueError(f"receipt {receipt.id} is paid or canceled already")
        receipt.paid = self._now()
        receipt.updated = receipt.changed = receipt.paid
        if not self.habits.posts_at_shipping:
            self._post_payment(receipt, receipt.paid)
        self._note("pay_order", receipt)
        self.emit(self._event("order.paid", receipt.id))
        return {"receipt": receipt.id, "payment": receipt.payment_id}

    def _ship(self, receipt: _Receipt) -> Record:
        if receipt.paid is None or receipt.shipped is not None or receipt.is_canceled:
            raise ValueError(f"receipt {receipt.id} cannot be shipped: it is {self._status(receipt)}")
        receipt.shipped = self._now()
        receipt.updated = receipt.changed = receipt.shipped
        if receipt.posted is None:
            self._post_payment(receipt, receipt.shipped)
        self._note("ship_order", receipt)
        self.emit(self._event("order.shipped", receipt.id))
        return {"receipt": receipt.id, "ship": True}

    def _touch(self, receipt: _Receipt, *, is_update: bool) -> None:
        """What a cancel or refund does to the receipt's times."""
        if is_update:
            receipt.updated = self._now()
        if self.habits.is_change_filtered:
            receipt.changed = self._now()

    def _post_payment(self, receipt: _Receipt, at: int) -> None:
        """The payment reaches the ledger, less what was refunded before."""
        returned = [each for each in receipt.adjustments if each.status in _NEXT]
        gross = receipt.gross_minor - sum(each.minor for each in returned)
        fees = receipt.fees_minor - sum(each.fee_minor for each in returned)
        receipt.posted = (gross, fees)
        self._enter(receipt, "PAYMENT_GROSS", gross, at=at)
        self._enter(receipt, "PAYMENT_PROCESSING_FEE", -fees, at=at)

    def _enter(
        self,
        receipt: _Receipt,
        kind: str,
        minor: int,
        adjustment: _Adjustment | None = None,
        *,
        at: int | None = None,
    ) -> None:
        if not minor:
            return
        balance = (self.entries[-1].balance if self.entries else 0) + minor
        when = self._now() if at is None else at
        sequence = len(self.entries) + 1
        self.entries.append(
            _Entry(next(self._ids), sequence, kind, minor, balance, when, receipt, adjustment)
        )

    def _note(self, effect: str, receipt: _Receipt, adjustment: _Adjustment | None = None) -> None:
        is_money = adjustment is not None or effect == "pay_order"
        self.book.write(
            effect,
            id=str(receipt.id if adjustment is None else adjustment.id),
            amount_minor=(receipt.gross_minor if adjustment is None else adjustment.minor)
            if is_money
            else None,
            currency=receipt.currency if is_money else None,
            target={"receipt": receipt.id, "payment": receipt.payment_id},
            reference=adjustment.note if adjustment is not None else None,
            **({} if adjustment is None else {"status": adjustment.status}),
        )

    # ------------------------------------------------------------ webhooks

    def event_for(self, topic: str, object_id: str) -> Event:
        """The one event of that topic about a receipt: the one that was sent, or one made now."""
        if topic not in TOPICS:
            raise NoSuchObjectError(f"etsy sends no {topic!r}")
        return self._event(topic, self._known(object_id).id)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """Standard Webhooks: HMAC-SHA256 over id, time and raw body; every try has its own time."""
        at = str(self._now())
        signature = signature_of(secret, event.id, at, event.payload)
        return Delivery(
            {
                "Content-Type": "application/json",
                "webhook-id": event.id,
                "webhook-timestamp": at,
                "webhook-signature": f"v1,{signature}" if self.habits.is_signature_versioned else signature,
            },
            event.payload,
        )

    def _event(self, topic: str, receipt_id: int) -> Event:
        body = {
            "event_type": topic,
            "resource_url": f"https://api.etsy.com/v3/application/shops/{SHOP_ID}/receipts/{receipt_id}",
            "shop_id": SHOP_ID if self.habits.is_shop_id_number else str(SHOP_ID),
        }
        return self.events.setdefault((topic, receipt_id), Event(self.mint("msg_"), topic, body))

    # ------------------------------------------------------------ finding and reading

    def _now(self) -> int:
        return int(self.world.clock().timestamp())

    def _known(self, key: Any) -> _Receipt:
        receipt = self.receipts.get(_whole(key))
        if receipt is None:
            raise NoSuchObjectError(f"etsy has no receipt {key!r}")
        return receipt

    def _check_shop(self, call: Call) -> None:
        shop = _number(call.ids, "shop_id", 1)
        if shop != SHOP_ID:
            fail(403, f"User does not own Shop {shop}")

    def _receipt(self, call: Call) -> _Receipt:
        self._check_shop(call)
        key = _number(call.ids, "receipt_id", 1) or 0
        if key not in self.receipts:
            fail(
                404,
                f"Could not find a Shop Receipt with receipt_id = {key} associated with shop_id = {SHOP_ID}.",
            )
        return self.receipts[key]

    def _page(self, asked: Mapping[str, str]) -> tuple[int, int]:
        most = None if self.habits.is_limit_cut else PAGE_SIZE_MOST
        limit = _number(asked, "limit", 1, most) or PAGE_SIZE
        return min(limit, PAGE_SIZE_MOST), _number(asked, "offset", 0) or 0

    def _read_receipt(self, data: Record) -> _Receipt:
        currency = str(data.get("currency", "USD"))
        unit = 10 ** exponent_of(currency)
        divisor = data.get("divisor", unit)
        if divisor % unit:
            raise ValueError(f"cannot seed etsy: a divisor of {divisor} cannot hold {currency}")
        key = _whole(data.get("id", next(self._ids)))
        created = int(data.get("created", self._now()))
        lines = [
            _Line(
                each.get("id", next(self._ids)),
                each.get("listing_id", next(self._ids)),
                each.get("product_id", next(self._ids)),
                each.get("sku"),
                each.get("title", "A thing"),
                each.get("quantity", 1),
                Money(each["unit_minor"], currency).minor,
            )
            for each in data["lines"]
        ]
        receipt = _Receipt(
            key,
            next(self._ids),
            currency,
            divisor,
            *(created, created, created),
            data.get("name", "Ada Lovelace"),
            data.get("email", "ada@example.com"),
            lines,
            data.get("shipping_minor", 0),
            data.get("tax_minor", 0),
            0,
            str(data.get("buyer_currency", currency)),
            Decimal(str(data.get("buyer_rate", "1"))),
            paid=created if data.get("is_paid", True) else None,
            shipped=created if data.get("is_shipped", False) else None,
        )
        receipt.fees_minor = data.get("fees_minor", receipt.gross_minor * 3 // 100)
        return receipt


# ---------------------------------------------------------------- shapes


def _times(created: int, updated: int) -> Record:
    """Each time under its old and its new name."""
    return {
        "create_timestamp": created,
        "created_timestamp": created,
        "update_timestamp": updated,
        "updated_timestamp": updated,
    }


def _three(name: str, receipt: _Receipt, amounts: tuple[int, int] | None) -> Record:
    if amounts is None:
        return dict.fromkeys((f"{name}_gross", f"{name}_fees", f"{name}_net"))
    gross, fees = amounts
    return {
        f"{name}_gross": receipt.money(gross),
        f"{name}_fees": receipt.money(fees),
        f"{name}_net": receipt.money(gross - fees),
    }


def _shown_line(receipt: _Receipt, line: _Line) -> Record:
    return {
        "transaction_id": line.id,
        "title": line.title,
        "description": None,
        "seller_user_id": USER_ID,
        "buyer_user_id": 400_300_200,
        "create_timestamp": receipt.created,
        "created_timestamp": receipt.created,
        "paid_timestamp": receipt.paid,
        "shipped_timestamp": receipt.shipped,
        "quantity": line.quantity,
        "listing_image_id": None,
        "receipt_id": receipt.id,
        "is_digital": False,
        "file_data": "",
        "listing_id": line.listing_id,
        "transaction_type": "listing",
        "product_id": line.product_id,
        "sku": line.sku,
        "price": receipt.money(line.unit_minor),
        "shipping_cost": receipt.money(0),
        "variations": [],
        "product_data": [],
        **dict.fromkeys(("shipping_profile_id", "min_processing_days", "max_processing_days")),
        **dict.fromkeys(("shipping_method", "shipping_upgrade", "expected_ship_date")),
        "buyer_coupon": 0,
        "shop_coupon": 0,
    }


def _items(receipt: _Receipt, asked: Record) -> list[tuple[str | None, int, int | None]]:
    """What a refund is made of. Raises ValueError where it is nothing, more than is left, or begins as it cannot."""
    if asked.get("status", "OPEN") not in _NEXT:
        raise ValueError(f"a refund begins as {' or '.join(_NEXT)}, not {asked['status']!r}")
    left = receipt.gross_minor - receipt.refunded_minor
    transactions = {line.id for line in receipt.lines}
    named = [("TRANS", minor, _whole(key)) for key, minor in asked.get("lines", {}).items()]
    if strange := {key for _, _, key in named} - transactions:
        raise ValueError(f"receipt {receipt.id} has no transaction {sorted(strange)}")
    parts: list[tuple[str | None, int, int | None]] = [
        *named,
        ("SHIP", asked.get("shipping_minor", 0), None),
        ("TAX", asked.get("tax_minor", 0), None),
    ]
    parts = [each for each in parts if each[1]]
    whole = asked.get("amount_minor", sum(minor for _, minor, _ in parts) or left)
    if not parts and whole == receipt.gross_minor:
        parts = [("TRANS", line.quantity * line.unit_minor, line.id) for line in receipt.lines]
        parts += [("SHIP", receipt.shipping_minor, None), ("TAX", receipt.tax_minor, None)]
        parts = [each for each in parts if each[1]]
    if not parts:
        # An amount without lines: the vendor names no transaction then.
        parts = [(None, whole, None)]
    amounts = [minor for _, minor, _ in parts]
    if any(isinstance(each, bool) or not isinstance(each, int) or each <= 0 for each in amounts):
        raise ValueError(f"receipt {receipt.id} has nothing left to refund, or {amounts} are no amounts")
    if sum(amounts) != whole or whole > left:
        raise ValueError(
            f"receipt {receipt.id} has {left} left to refund; {whole} asked for, lines {amounts}"
        )
    return parts


def _share(receipt: _Receipt, minor: int) -> int:
    """The part of the fees that belongs to so much of the payment."""
    return receipt.fees_minor * minor // receipt.gross_minor


def _limit_error(*, is_daily: bool) -> Record:
    return {"error": f"Exceeded {'daily' if is_daily else 'per second'} rate limit"}


def _is_daily(call: Call) -> bool:
    return call.fault is not None and call.fault.code == "daily"


# ---------------------------------------------------------------- requests read


def _fields(call: Call) -> Record:
    """A form, or (taken too) JSON."""
    if call.content_type == "application/json":
        return call.json if isinstance(call.json, dict) else {}
    return dict(call.form_pairs)


def _whole(key: Any) -> int:
    """An id as those at the controls write it."""
    text = str(key)
    if not text.isdecimal():
        raise ValueError(f"an etsy id is a whole number, not {key!r}")
    return int(text)


def _number(asked: Mapping[str, str], name: str, least: int, most: int | None = None) -> int | None:
    text = asked.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?\d+", text):
        fail(400, f"Expected int value for '{name}' (got string)")
    value = int(text)
    if value < least or (most is not None and value > most):
        fail(400, f"Value of '{name}' is out of range")
    return value


def _numbers(call: Call, name: str) -> set[int]:
    """A list of ids: with commas, or the name repeated (with or without brackets)."""
    texts = [
        part for key, value in call.query_pairs if key in (name, f"{name}[]") for part in value.split(",")
    ]
    if not texts:
        fail(400, f"Missing required parameter: {name}")
    return {_number({name: each}, name, 1) or 0 for each in texts}


def _flag(asked: Mapping[str, str], name: str) -> bool | None:
    match asked.get(name):
        case None | "null":
            return None
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            fail(400, f"Expected boolean value for '{name}' (got string)")


def _is_between(at: int, least: int | None, most: int | None) -> bool:
    return (least is None or at >= least) and (most is None or at <= most)
