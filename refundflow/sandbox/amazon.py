"""Practice Amazon (Selling Partner API, a seller's own orders) under `/amazon/`: token, orders, feeds, finances, the notifications' queue.

Orders 2026-01-01, Feeds 2021-06-30, Finances 2024-06-19, Sellers v1, notifications ORDER_CHANGE, FEED_PROCESSING_FINISHED and
TRANSACTION_UPDATE; `POST /auth/o2/token` (api.amazon.com); documents at `/NinetyDays/{id}` (pre-signed); SQS at `POST /` or at the
queue's own path (AWS JSON 1.0). Shapes: github.com/amzn/selling-partner-api-models at 34dc93f, developer-docs.amazon.com and
docs.aws.amazon.com, read 2026-11-25. Where they are silent, `Habits` names the practised reading.

Strict about: token kinds, their hour and the roles; which query parameters exclude each other; the same criteria on every page;
`includedData`; a pre-signed address (five minutes, the same Content-Type, no other credentials); Signature Version 4; the order and
the names of a feed's elements. A document that breaks them is one error 5000 and nothing of it is executed. Error code 18028 is
Amazon's too; the other codes and all texts of report lines are ours. `PromotionAdjustments` and flat files are not practised.

Traps that are real: DONE is not success (read the report); a Failure without items does nothing and is reported clean; a Failure after
a shipment refunds the whole order; no feed is idempotent, no sum of refunds is capped; a list never shows the last two minutes.

`seed({"orders"?: [{"id"?, "status"?, "fulfilled_by"?, "marketplace"?, "seller_order_id"?, "created_s_ago"?, "is_tax_ours"?,
"feed_refusal"?, "buyer_cancel"?, "items": [{"id"?, "sku"?, "quantity"?, "unit_price", "shipping"?, "tax"?, "discount"?}]}],
"roles"?: […], "notifications"?: [types subscribed], "habits"?: {…}})`; amounts are decimal texts, all but the unit price for the line.

`settle` takes `{"order": id, "event": "pay" | "buyer_request" | "buyer_cancel" | "amazon_cancel" | "ship" | "refund", "reason"?,
"items"?: {item id: quantity to ship}, "amount"?}`, `{"feed": id, "status": "IN_PROGRESS" | "DONE" | "FATAL" | "CANCELLED", "executed"?: n}`
(FATAL after n messages), `{"notification": id}` (comes again), `{"finances": "post"}` or `{"authorisation": "revoked" | "granted"}`.
A slow_pending fault on create_feed leaves the feed IN_PROGRESS until then. late_failure has no counterpart: what is paid stays paid.

Book: `cancel_order` (`by` is MERCHANT, BUYER or AMAZON), `cancel_item` (before shipment), `acknowledge_order`, `restock` (Amazon's own, per
item), `refund` (one for each message; `by` is MERCHANT or AMAZON). `reference` is MerchantOrderID, or the first MerchantAdjustmentItemID
(all of them in `references`); `target` has order, feed and message.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from refundflow.sandbox.base import (
    Answer,
    Call,
    Kind,
    NoSuchObjectError,
    Operation,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

CLIENT_ID: Final = "amzn1.application-oa2-client.practice"
CLIENT_SECRET: Final = "practice-amazon-client-secret"  # noqa: S105 (practice secrets, known to everybody)
REFRESH_TOKEN: Final = "Atzr|practice-amazon-refresh"  # noqa: S105 (a practice secret, known to everybody)
SELLER_ID: Final = "A3PRACTICE"
MARKETPLACE: Final = "ATVPDKIKX0DER"
AWS_ACCESS_KEY_ID: Final = "AKIAPRACTICEAMAZON00"
AWS_SECRET_ACCESS_KEY: Final = "practice-aws-secret-key"  # noqa: S105 (a practice secret, known to everybody)
AWS_REGION: Final = "us-east-1"
QUEUE_PATH: Final = "/111122223333/practice-amazon-notifications"
QUEUE_URL: Final = f"https://sqs.{AWS_REGION}.amazonaws.com{QUEUE_PATH}"

TOKEN_LIFE_S: Final = 3600
PRESIGNED_LIFE_S: Final = 300
PAGE_TOKEN_LIFE: Final = timedelta(hours=24)
FEED_LIFE: Final = timedelta(days=90)
MESSAGE_LIFE: Final = timedelta(days=4)
SIGNATURE_SKEW: Final = timedelta(minutes=15)
# A bound that a caller gives, and the lists' own newest moment, are at least this long ago.
TWO_MINUTES: Final = timedelta(minutes=2)
NOTIFICATIONS_SCOPE: Final = "sellingpartnerapi::notifications"
ORDERS_ROLE: Final = "Inventory and Order Tracking"
FINANCE_ROLE: Final = "Finance and Accounting"
ACKNOWLEDGEMENT: Final = "POST_ORDER_ACKNOWLEDGEMENT_DATA"
ADJUSTMENT: Final = "POST_PAYMENT_ADJUSTMENT_DATA"
TOPICS: Final = ("ORDER_CHANGE", "FEED_PROCESSING_FINISHED", "TRANSACTION_UPDATE")

# Calls a second, and how many may come at once.
RATES: Final[Mapping[str, tuple[str, int]]] = {
    "search_orders": ("0.0056", 20),
    "get_order": ("0.5", 30),
    "create_feed_document": ("0.5", 15),
    "create_feed": ("0.0083", 15),
    "get_feed": ("2.0", 15),
    "get_feeds": ("0.0222", 10),
    "get_feed_document": ("0.0222", 10),
    "list_transactions": ("0.5", 10),
    "get_marketplace_participations": ("0.016", 15),
}
_ROLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(set(RATES) - {"list_transactions", "get_marketplace_participations"}, ORDERS_ROLE),
    "list_transactions": FINANCE_ROLE,
}
_MARKETPLACES: Final[Mapping[str, tuple[str, str, str, str]]] = {
    MARKETPLACE: ("Amazon.com", "US", "USD", "en_US"),
    "A1F83G8C2ARO7P": ("Amazon.co.uk", "GB", "GBP", "en_GB"),
    "A1VC38T7YXB528": ("Amazon.co.jp", "JP", "JPY", "ja_JP"),
}
_STATUSES: Final[Mapping[str, str]] = {
    "PENDING_AVAILABILITY": "PendingAvailability",
    "PENDING": "Pending",
    "UNSHIPPED": "Unshipped",
    "PARTIALLY_SHIPPED": "PartiallyShipped",
    "SHIPPED": "Shipped",
    "CANCELLED": "Canceled",
    "UNFULFILLABLE": "Unfulfillable",
}
_PARTIES: Final = ("MERCHANT", "AMAZON")
_DATASETS: Final = (
    *("BUYER", "RECIPIENT", "PROCEEDS", "EXPENSE", "PROMOTION", "CANCELLATION", "FULFILLMENT"),
    *("PACKAGES", "TAX", "PAYMENT", "FULFILLMENT_ORDERS"),
)
_FEED_STATUSES: Final = ("CANCELLED", "DONE", "FATAL", "IN_PROGRESS", "IN_QUEUE")
_FINAL: Final = ("CANCELLED", "DONE", "FATAL")
_CANCEL_REASONS: Final = (
    *(
        "NoInventory",
        "ShippingAddressUndeliverable",
        "CustomerExchange",
        "BuyerCanceled",
        "GeneralAdjustment",
    ),
    *(
        "CarrierCreditDecision",
        "RiskAssessmentInformationNotValid",
        "CarrierCoverageFailure",
        "CustomerReturn",
    ),
    *("MerchandiseNotReceived", "CannotVerifyInformation", "PricingError", "RejectOrder", "WeatherDelay"),
)
_ADJUSTMENT_REASONS: Final = (
    *("NoInventory", "CustomerReturn", "GeneralAdjustment", "CouldNotShip", "DifferentItem", "Abandoned"),
    *("CustomerCancel", "PriceError", "ProductOutofStock", "CustomerAddressIncorrect", "Exchange", "Other"),
    *("CarrierCreditDecision", "RiskAssessmentInformationNotValid", "CarrierCoverageFailure"),
    *("TransactionRecord", "Undeliverable", "RefusedDelivery"),
)
_COMPONENTS: Final = (
    *("Principal", "Shipping", "Tax", "ShippingTax", "RestockingFee", "RestockingFeeTax", "GiftWrap"),
    *("GiftWrapTax", "Surcharge", "ReturnShipping", "Goodwill", "ExportCharge", "COD", "CODTax", "Other"),
    "FreeReplacementReturnShipping",
)
_ORDER_ID: Final = re.compile(r"\w{3}-\w{7}-\w{7}", re.ASCII)
_ITEM_ID: Final = re.compile(r"[0-9]{14}")
_AMOUNT: Final = re.compile(r"-?[0-9]+(\.[0-9]{1,2})?")
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]+)"
)
_SQS: Final = ("receive_message", "delete_message", "unknown_action")
_AWS_JSON: Final = "application/x-amz-json-1.0"
_FORM: Final = "application/x-www-form-urlencoded"
_POLL_S: Final = 0.1
_INVALID_TOKEN: Final = "The access token you provided is revoked, malformed or invalid."  # noqa: S105 (a sentence)
# What AWS calls an error in the header (and its pages), against the name that JSON callers see in the body.
_AWS_TYPES: Final[Mapping[str, str]] = {
    "MissingAuthenticationToken": "com.amazon.coral.service#MissingAuthenticationTokenException",
    "IncompleteSignature": "com.amazon.coral.service#IncompleteSignatureException",
    "InvalidClientTokenId": "com.amazon.coral.service#UnrecognizedClientException",
    "SignatureDoesNotMatch": "com.amazon.coral.service#InvalidSignatureException",
    "RequestExpired": "com.amazon.coral.service#RequestExpired",
    "InvalidAction": "com.amazon.coral.service#UnknownOperationException",
    "InvalidParameterValue": "com.amazon.coral.service#InvalidParameterValueException",
    "MissingParameter": "com.amazon.coral.service#MissingRequiredParameterException",
    "AWS.SimpleQueueService.NonExistentQueue": "com.amazonaws.sqs#QueueDoesNotExist",
    "ReceiptHandleIsInvalid": "com.amazonaws.sqs#ReceiptHandleIsInvalid",
}


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or promises loosely.

    `feed_queue_s`, `feed_work_s`: how long a feed waits, then works (0: done before the first look). `feeds_list_lag_s`: how
    long a new feed is missing from the list of feeds. `cancel_shows_after_s`: from a cancellation's effect to CANCELLED in reads
    (minutes to an hour). `lists_lag_s`: the newest that searches and finances show. `finances_lag_s`: from a refund to its
    posting (up to 48 h). `returned_fee_percent`: what Amazon gives back of its fee on a refund, so that `totalAmount` is less
    than was refunded. `transactions_page`: how many transactions a page has. `restocks_cancelled`: whether a cancellation raises the listing,
    except for NoInventory. `gzips_reports`: whether reports are packed. `notification_copies`, `newest_first`: at-least-once,
    unordered. `visibility_s`: the queue's own visibility timeout. `long_poll_most_s`: how long a waiting receive is really held.
    `counts_calls`: whether the rates are enforced. `says_rate_on_429`: the published description gives a 429 no rate header.
    """

    feed_queue_s: float = 0.0
    feed_work_s: float = 0.0
    feeds_list_lag_s: float = 0.0
    cancel_shows_after_s: float = 0.0
    lists_lag_s: float = 120.0
    finances_lag_s: float = 0.0
    returned_fee_percent: int = 0
    transactions_page: int = 500
    restocks_cancelled: bool = True
    gzips_reports: bool = False
    notification_copies: int = 1
    newest_first: bool = False
    visibility_s: int = 30
    long_poll_most_s: float = 20.0
    counts_calls: bool = False
    says_rate_on_429: bool = False


@dataclass(slots=True)
class Item:
    """One line of an order; amounts are for the line. `cancelled`: units that will never be shipped."""

    id: str
    sku: str
    quantity: int
    unit_price: Decimal
    shipping: Decimal
    tax: Decimal
    discount: Decimal
    shipped: int = 0
    cancelled: int = 0
    request: str | None = None
    execution: tuple[str, str] | None = None

    @property
    def open(self) -> int:
        return self.quantity - self.shipped - self.cancelled

    @property
    def total(self) -> Decimal:
        return self.unit_price * self.quantity + self.shipping + self.tax - self.discount


@dataclass(slots=True)
class Order:
    """An order. `status`: what reads show; `is_cancelled`: what is true already."""

    id: str
    status: str
    fulfilled_by: str
    marketplace: str
    created: datetime
    updated: datetime
    alias: str | None
    is_tax_ours: bool
    feed_refusal: str | None
    items: dict[str, Item]
    is_cancelled: bool = False
    packages: list[Record] = field(default_factory=list)

    @property
    def currency(self) -> str:
        return _MARKETPLACES[self.marketplace][2]

    @property
    def total(self) -> Decimal:
        return sum((item.total for item in self.items.values()), Decimal())


@dataclass(slots=True)
class Document:
    """A feed's document or its report. `grants`: pre-signed signatures, with method and end."""

    id: str
    content_type: str
    content: bytes | None = None
    is_packed: bool = False
    is_report: bool = False
    grants: dict[str, tuple[str, datetime]] = field(default_factory=dict)


@dataclass(slots=True)
class Feed:
    """A feed. `content`: what the document held when the feed was made. `is_held`: waits for `settle`."""

    id: str
    type: str
    marketplaces: list[str]
    created: datetime
    content: bytes | None
    is_held: bool = False
    status: str = "IN_QUEUE"
    started: datetime | None = None
    ended: datetime | None = None
    report: str | None = None


@dataclass(slots=True)
class Message:
    """One copy of a notification in the queue; `receipts`: one for each time it was received."""

    id: str
    notification: str
    body: str
    sent: datetime
    visible: datetime
    first_received: datetime | None = None
    receipts: list[str] = field(default_factory=list)


class LineError(Exception):
    """One message of a feed is refused: code, text, and the item meant."""

    def __init__(self, code: str, text: str, item: str = "") -> None:
        super().__init__(code, text, item)
        self.code = code
        self.text = text
        self.item = item


class MalformedError(ValueError):
    """A document is not what the feed type's schema allows; the argument says why."""


def fail(status: int, code: str, message: str, details: str = "") -> NoReturn:
    """Ends the call with the Selling Partner API's error."""
    raise RefusalError(_error(status, code, message, details))


def _error(status: int, code: str, message: str, details: str = "") -> Answer:
    return Answer(status, {"errors": [{"code": code, "message": message, "details": details}]})


def _aws_error(status: int, code: str, message: str) -> Answer:
    kind = _AWS_TYPES.get(code, f"com.amazon.coral.service#{code}")
    name = "message" if kind.startswith("com.amazonaws.sqs") else "Message"
    sender = "Receiver" if status >= 500 else "Sender"
    return Answer(
        status, {"__type": kind, name: message}, {"x-amzn-query-error": f"{code};{sender}"}, _AWS_JSON
    )


def _s3_error(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, body, content_type="application/xml")


def signature_v4(
    secret: str,
    *,
    method: str,
    path: str,
    headers: Iterable[tuple[str, str]],
    body: bytes = b"",
    query: Iterable[tuple[str, str]] = (),
    date: str,
    region: str,
    service: str,
) -> str:
    """AWS Signature Version 4 of a request, in hex. `headers`: those signed, in any order; `date`: as in X-Amz-Date.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, read 2026-11-25.
    """
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in headers)
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            "&".join(
                sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
            ),
            *(f"{name}:{value}" for name, value in lines),
            "",
            ";".join(name for name, _ in lines),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Amazon(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "amazon"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        orders, feeds = "/orders/2026-01-01/orders", "/feeds/2021-06-30"
        self._routes = (
            Route("POST", "/auth/o2/token", "get_token", self._get_token, is_open=True),
            Route(
                "GET",
                "/sellers/v1/marketplaceParticipations",
                "get_marketplace_participations",
                self._participations,
            ),
            Route("GET", orders, "search_orders", self._search_orders),
            Route("GET", f"{orders}/{{id}}", "get_order", self._get_order),
            Route("POST", f"{feeds}/documents", "create_feed_document", self._create_document),
            Route("GET", f"{feeds}/documents/{{id}}", "get_feed_document", self._get_document),
            Route("POST", f"{feeds}/feeds", "create_feed", self._create_feed),
            Route("GET", f"{feeds}/feeds", "get_feeds", self._get_feeds),
            Route("GET", f"{feeds}/feeds/{{id}}", "get_feed", self._get_feed),
            Route("GET", "/finances/2024-06-19/transactions", "list_transactions", self._list_transactions),
            Route("PUT", "/NinetyDays/{id}", "upload_document", self._upload, is_open=True),
            Route("GET", "/NinetyDays/{id}", "download_document", self._download, is_open=True),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def find(self, call: Call) -> Operation:
        """SQS has one address; the header says what is asked."""
        if call.method == "POST" and call.path in ("/", QUEUE_PATH):
            is_aws = call.content_type == _AWS_JSON
            match call.headers.get("x-amz-target"):
                case "AmazonSQS.ReceiveMessage" if is_aws:
                    return Operation("receive_message", self._receive_messages)
                case "AmazonSQS.DeleteMessage" if is_aws:
                    return Operation("delete_message", self._delete_message)
                case _:
                    return Operation("unknown_action", self.not_found)
        return super().find(call)

    def clear(self) -> None:
        self.habits = Habits()
        self.roles = {ORDERS_ROLE, FINANCE_ROLE}
        self.topics = set(TOPICS)
        self.is_authorised = True
        self.orders: dict[str, Order] = {}
        self.documents: dict[str, Document] = {}
        self.feeds: dict[str, Feed] = {}
        self.transactions: list[Record] = []
        self.queue: list[Message] = []
        self._sent: dict[str, str] = {}
        self._deleted: set[str] = set()
        self._tokens: dict[str, tuple[datetime, bool]] = {}
        self._pages: dict[str, tuple[datetime, Any, int]] = {}
        self._buckets: dict[str, tuple[float, datetime]] = {}
        self._due: list[tuple[datetime, str, Callable[[], None]]] = []
        self._at: datetime | None = None
        self._last_id = 50_000_000_000 + int(self._mint_digits(9))

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.roles = set(data.get("roles", self.roles))
            self.topics = set(data.get("notifications", self.topics))
            made = [self._seed_order(each) for each in data.get("orders", ())]
        except (AttributeError, KeyError, TypeError, InvalidOperation) as wrong:
            raise ValueError(f"cannot seed amazon: {wrong!r}") from wrong
        if strange := self.topics - set(TOPICS):
            raise ValueError(f"cannot seed amazon: no notification {', '.join(sorted(strange))}")
        return {
            "orders": [
                {"id": order.id, "items": list(order.items), "total": str(order.total)} for order in made
            ]
        }

    def _seed_order(self, data: Record) -> Order:
        now = self._now()
        status, party = data.get("status", "UNSHIPPED"), data.get("fulfilled_by", "MERCHANT")
        marketplace = data.get("marketplace", MARKETPLACE)
        order_id = data.get("id") or f"{self._mint_digits(3)}-{self._mint_digits(7)}-{self._mint_digits(7)}"
        if status not in _STATUSES or party not in _PARTIES or marketplace not in _MARKETPLACES:
            raise ValueError(f"cannot seed amazon: no order {status}, {party}, {marketplace}")
        if not _ORDER_ID.fullmatch(order_id) or status == "PARTIALLY_SHIPPED":
            raise ValueError(
                "cannot seed amazon: an order's id is 3-7-7; one that is partly shipped is settled so"
            )
        items = [self._seed_item(each, status) for each in data["items"]]
        created = now - timedelta(seconds=data.get("created_s_ago", 3600))
        order = Order(
            id=order_id,
            status=status,
            fulfilled_by=party,
            marketplace=marketplace,
            created=created,
            updated=created,
            alias=data.get("seller_order_id"),
            is_tax_ours=data.get("is_tax_ours", False),
            feed_refusal=data.get("feed_refusal"),
            items={item.id: item for item in items},
            is_cancelled=status == "CANCELLED",
        )
        self.orders[order.id] = order
        if status == "SHIPPED":
            self._pack(order, {item.id: item.quantity for item in items})
            self._transact(order, "Shipment", "Order Payment", order.total, items, when=created)
        if reason := data.get("buyer_cancel"):
            for item in items:
                item.request = reason
        return order

    def _seed_item(self, data: Record, status: str) -> Item:
        quantity = int(data.get("quantity", 1))
        return Item(
            id=data.get("id") or self._mint_digits(14),
            sku=data.get("sku", "PRACTICE-1"),
            quantity=quantity,
            unit_price=Decimal(data["unit_price"]),
            shipping=Decimal(data.get("shipping", "0.00")),
            tax=Decimal(data.get("tax", "0.00")),
            discount=Decimal(data.get("discount", "0.00")),
            shipped=quantity if status == "SHIPPED" else 0,
            cancelled=quantity if status == "CANCELLED" else 0,
            execution=("AMAZON", "Seeded") if status == "CANCELLED" else None,
        )

    def settle(self, data: Record) -> Record:
        self._tick()
        match data:
            case {"order": str(order_id), "event": str(event)}:
                if order_id not in self.orders:
                    raise NoSuchObjectError(f"amazon has no order {order_id!r}")
                return self._settle_order(self.orders[order_id], event, data)
            case {"feed": str(feed_id), "status": str(status)} if status in (*_FINAL, "IN_PROGRESS"):
                if feed_id not in self.feeds:
                    raise NoSuchObjectError(f"amazon has no feed {feed_id!r}")
                return self._settle_feed(self.feeds[feed_id], status, data.get("executed", 0))
            case {"notification": str(notification_id)}:
                if notification_id not in self._sent:
                    raise NoSuchObjectError(f"amazon sent no notification {notification_id!r}")
                self._enqueue(notification_id)
                return {"notification": notification_id}
            case {"finances": "post"}:
                waiting = [each for each in self._due if each[1] == "post"]
                self._due = [each for each in self._due if each[1] != "post"]
                for _, _, post in waiting:
                    post()
                return {"posted": len(waiting)}
            case {"authorisation": "revoked" | "granted" as word}:
                self.is_authorised = word == "granted"
                return {"authorisation": word}
            case _:
                raise ValueError(
                    'amazon settles {"order": …, "event": …}, {"feed": …, "status": …}, {"notification": …}, '
                    '{"finances": "post"} or {"authorisation": "revoked" | "granted"}'
                )

    def _settle_order(self, order: Order, event: str, data: Record) -> Record:
        is_open = order.status == "UNSHIPPED"
        match event:
            case _ if order.is_cancelled:
                raise ValueError(f"order {order.id} is cancelled")
            case "pay" if order.status in ("PENDING", "PENDING_AVAILABILITY"):
                order.status = "UNSHIPPED"
                self._touch(order, "OrderStatusChange", "Unshipped")
            case "buyer_request" if is_open and order.fulfilled_by == "MERCHANT":
                for item in order.items.values():
                    item.request = data.get("reason", "Changed mind about purchase")
                self._touch(order, "BuyerRequestedChange", "Buyer Requested Cancel")
            case "buyer_cancel" | "amazon_cancel" if is_open or order.status.startswith("PENDING"):
                by = event.partition("_")[0].upper()
                reason = str(data.get("reason", "Cancelled"))
                self._cancel(order, by, dict.fromkeys(order.items, reason), None, {})
            case "ship" if order.status in ("UNSHIPPED", "PARTIALLY_SHIPPED"):
                self._ship(order, data.get("items"))
            case "refund" if any(item.shipped for item in order.items.values()):
                # A person in Seller Central, a claim, a chargeback: no feed of ours.
                amount = Decimal(data.get("amount", str(order.total)))
                self._refund(order, amount, list(order.items.values()), "AMAZON", {}, [])
            case _:
                raise ValueError(f"an order that is {order.status} cannot be settled with {event!r}")
        return {"order": order.id, "event": event, "status": order.status}

    def _settle_feed(self, feed: Feed, status: str, executed: int) -> Record:
        if feed.status in _FINAL:
            raise ValueError(f"feed {feed.id} has ended: {feed.status}")
        feed.is_held = status == "IN_PROGRESS"
        if status == "IN_PROGRESS":
            self._start_feed(feed)
        elif status == "DONE":
            feed.started = feed.started or self._now()
            self._work(feed)
        else:
            if status == "FATAL" and executed:
                self._execute(feed, _read_feed(feed)[:executed])
            self._end_feed(feed, status)
        return {"feed": feed.id, "status": feed.status}

    # ------------------------------------------------------------ time

    def _after(self, delay_s: float, act: Callable[[], None], name: str = "") -> None:
        """Does something at once, or when a call (or `settle`) comes at least so much later."""
        if delay_s <= 0:
            act()
        else:
            self._due.append((self._now() + timedelta(seconds=delay_s), name, act))

    def _now(self) -> datetime:
        """The vendor's time; while something overdue is done, the moment when it was due."""
        return self._at or self.world.clock()

    def _tick(self) -> None:
        """Does what has become due, the oldest first."""
        while due := [each for each in self._due if each[0] <= self.world.clock()]:
            first = min(due, key=lambda each: each[0])
            self._due.remove(first)
            self._at = first[0]
            try:
                first[2]()
            finally:
                self._at = None

    def _mint_digits(self, length: int) -> str:
        return str(uuid.uuid4().int)[:length].replace("0", "7")

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        if call.operation in _SQS:
            return self._check_signature(call)
        token = call.headers.get("x-amz-access-token", "")
        if not token:
            return self._denied("")
        ends, is_grantless = self._tokens.get(token, (None, False))
        if ends is None or is_grantless or not self.is_authorised:
            return self._denied(_INVALID_TOKEN)
        if self._now() >= ends:
            return self._denied("The access token you provided has expired.")
        if (role := _ROLES.get(call.operation)) is not None and role not in self.roles:
            return self._denied("")
        return None

    def _denied(self, details: str) -> Answer:
        refused = _error(403, "Unauthorized", "Access to requested resource is denied.", details)
        return replace(refused, headers={"x-amzn-RequestId": str(uuid.uuid4())})

    def unauthorised(self, call: Call) -> Answer:
        if call.operation in _SQS:
            return _aws_error(
                403, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        if call.operation == "get_token":
            return _lwa_error(
                400, "invalid_grant", "The request has an invalid grant parameter : refresh_token"
            )
        return self._denied(_INVALID_TOKEN)

    def refuse(self, call: Call) -> Answer:
        """The fault's `code` is the error's."""
        code = call.fault.code if call.fault is not None else ""
        if call.operation in _SQS:
            return _aws_error(400, code or "InvalidParameterValue", "The request was refused.")
        if call.operation == "get_token":
            return _lwa_error(400, code or "invalid_request", "Malformed request")
        if call.operation in ("upload_document", "download_document"):
            return _s3_error(403, code or "AccessDenied", "Access Denied")
        return _error(400, code or "InvalidInput", "Invalid Input")

    def not_found(self, call: Call) -> Answer:
        if call.operation in _SQS:
            return _aws_error(404, "InvalidAction", "The action or operation requested is invalid.")
        return _error(404, "NotFound", "The resource specified does not exist.")

    def failure(self, call: Call, status: int) -> Any:
        if call.operation in _SQS:
            code = "ThrottlingException" if status == 429 else "InternalFailure"
            return _aws_error(status, code, "The request processing has failed.").body
        if call.operation == "get_token":
            return {
                "error": "slow_down" if status == 429 else "server_error",
                "error_description": "Try later",
            }
        if call.operation in ("upload_document", "download_document"):
            return _s3_error(
                status, "SlowDown" if status in (429, 503) else "InternalError", "Try again."
            ).body
        return {
            429: _QUOTA_EXCEEDED.body,
            503: _error(503, "ServiceUnavailable", "Service is temporarily unavailable.").body,
        }.get(status, _error(status, "InternalFailure", "We encountered an internal error.").body)

    def begin(self, call: Call) -> Answer | None:
        """Lets time pass, and counts the call against its rate where `Habits.counts_calls`."""
        self._tick()
        if not self.habits.counts_calls or call.operation not in RATES:
            return None
        rate, burst = RATES[call.operation]
        now = self._now()
        tokens, since = self._buckets.get(call.operation, (float(burst), now))
        tokens = min(float(burst), tokens + (now - since).total_seconds() * float(rate))
        self._buckets[call.operation] = (tokens - 1 if tokens >= 1 else tokens, now)
        return None if tokens >= 1 else self.finish(call, _QUOTA_EXCEEDED)

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Adds the request's id, and the operation's rate where the vendor names it."""
        headers = {"x-amzn-RequestId": str(uuid.uuid4()), **answer.headers}
        is_named = answer.status in (200, 201, 202, 400, 404) or (
            answer.status == 429 and self.habits.says_rate_on_429
        )
        if is_named and call.operation in RATES:
            headers["x-amzn-RateLimit-Limit"] = RATES[call.operation][0]
        kind = answer.content_type
        if call.operation in _SQS and kind == "application/json":
            kind = _AWS_JSON
        elif call.operation in ("upload_document", "download_document") and kind == "application/json":
            kind = "application/xml"
        return replace(answer, headers=headers, content_type=kind)

    def _get_token(self, call: Call) -> Answer:
        form = dict(call.form_pairs) if call.content_type == _FORM else {}
        if any(not form.get(name) for name in ("grant_type", "client_id", "client_secret")):
            return _lwa_error(400, "invalid_request", "Malformed request")
        if (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return _lwa_error(401, "invalid_client", "Client authentication failed")
        match form["grant_type"]:
            case "refresh_token":
                if form.get("refresh_token") != REFRESH_TOKEN or not self.is_authorised:
                    more = (
                        ""
                        if self.is_authorised
                        else ". User may have revoked or didn't grant the permission."
                    )
                    return _lwa_error(
                        400,
                        "invalid_grant",
                        f"The request has an invalid grant parameter : refresh_token{more}",
                    )
            case "client_credentials":
                if form.get("scope") != NOTIFICATIONS_SCOPE:
                    return _lwa_error(400, "invalid_scope", "The scope requested is invalid")
            case _:
                return _lwa_error(400, "unsupported_grant_type", "The grant type is not supported")
        is_grantless = form["grant_type"] == "client_credentials"
        token = self.mint("Atza|", 60)
        self._tokens[token] = (self._now() + timedelta(seconds=TOKEN_LIFE_S), is_grantless)
        granted: Record = {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_LIFE_S}
        if not is_grantless:
            granted["refresh_token"] = REFRESH_TOKEN
        return Answer(200, granted, {"Cache-Control": "no-store"})

    def _participations(self, _: Call) -> Answer:
        found = [
            {
                "marketplace": {
                    "id": marketplace_id,
                    "name": name,
                    "countryCode": country,
                    "defaultCurrencyCode": currency,
                    "defaultLanguageCode": language,
                    "domainName": f"www.{name.lower()}",
                },
                "participation": {"isParticipating": True, "hasSuspendedListings": False},
                "storeName": "Practice Shop",
            }
            for marketplace_id, (name, country, currency, language) in _MARKETPLACES.items()
        ]
        return Answer(200, {"payload": found})

    # ------------------------------------------------------------ orders

    def _get_order(self, call: Call) -> Answer:
        order_id = call.ids["id"]
        if not _ORDER_ID.fullmatch(order_id):
            fail(400, "InvalidInput", f"OrderId: {order_id} is invalid, should be in 3-7-7 format.")
        datasets = _choices(_asked(call), "includedData", _DATASETS)
        if order_id not in self.orders:
            fail(404, "NotFound", "The resource specified does not exist.")
        return Answer(200, {"order": _order_view(self.orders[order_id], datasets)})

    def _search_orders(self, call: Call) -> Answer:
        """A page of orders, the longest unchanged first. A page's token is good for a day, with the same criteria only."""
        asked = _asked(call)
        after, before, is_created = self._read_range(asked)
        datasets = _choices(asked, "includedData", _DATASETS)
        statuses = _choices(asked, "fulfillmentStatuses", tuple(_STATUSES))
        parties = _choices(asked, "fulfilledBy", _PARTIES)
        marketplaces = _choices(asked, "marketplaceIds", None, most=50)
        size = _whole(asked, "maxResultsPerPage", 100, 100)
        criteria = {
            name: value
            for name, value in asked.items()
            if name not in ("maxResultsPerPage", "includedData", "paginationToken")
        }
        start = self._read_page(asked["paginationToken"], criteria) if "paginationToken" in asked else 0
        found = sorted(
            (
                order
                for order in self.orders.values()
                if after <= (order.created if is_created else order.updated) <= before
                and (not statuses or order.status in statuses)
                and (not parties or order.fulfilled_by in parties)
                and (not marketplaces or order.marketplace in marketplaces)
            ),
            key=lambda order: (order.created if is_created else order.updated, order.id),
        )
        answer: Record = {"orders": [_order_view(each, datasets) for each in found[start : start + size]]}
        if start + size < len(found):
            answer["pagination"] = {"nextToken": self._make_page(criteria, start + size)}
        answer["createdBefore" if is_created else "lastUpdatedBefore"] = _iso(before)
        return Answer(200, answer)

    def _read_range(self, asked: Record) -> tuple[datetime, datetime, bool]:
        """From, to, and whether the creation is meant."""
        is_created = "createdAfter" in asked
        if is_created == ("lastUpdatedAfter" in asked):
            fail(400, "InvalidInput", "Exactly one of createdAfter and lastUpdatedAfter must be provided.")
        ours, others = ("created", "lastUpdated") if is_created else ("lastUpdated", "created")
        if f"{others}Before" in asked:
            fail(400, "InvalidInput", f"{others}Before cannot be provided with {ours}After.")
        now = self._now()
        after = _moment(asked, f"{ours}After")
        if f"{ours}Before" not in asked:
            return after, now - timedelta(seconds=self.habits.lists_lag_s), is_created
        before = _moment(asked, f"{ours}Before")
        if before < after or before > now - TWO_MINUTES:
            fail(400, "InvalidInput", f"{ours}Before must be after {ours}After and two minutes before now.")
        return after, before, is_created

    def _make_page(self, criteria: Any, start: int) -> str:
        token = self.mint(length=40)
        self._pages[token] = (self._now() + PAGE_TOKEN_LIFE, criteria, start)
        return token

    def _read_page(self, token: str, criteria: Any) -> int:
        ends, known, start = self._pages.get(token, (None, None, 0))
        if ends is None or ends <= self._now():
            fail(400, "InvalidInput", "The token is invalid or has expired.")
        if known != criteria:
            fail(400, "InvalidInput", "The parameters are not those of the request that gave the token.")
        return start

    def _touch(self, order: Order, change: str, reason: str) -> None:
        order.updated = self._now()
        self._notify_order(order, change, reason)

    def _ship(self, order: Order, asked: Mapping[str, int] | None) -> None:
        amounts = asked or {item.id: item.open for item in order.items.values()}
        if any(
            name not in order.items or not 0 < amounts[name] <= order.items[name].open for name in amounts
        ):
            raise ValueError(f"order {order.id} has not these items open: {amounts}")
        for name, quantity in amounts.items():
            order.items[name].shipped += quantity
        is_left = any(item.open for item in order.items.values())
        order.status = "PARTIALLY_SHIPPED" if is_left else "SHIPPED"
        self._pack(order, amounts)
        items = [order.items[name] for name in amounts]
        amount = sum((_cents(item.total * amounts[item.id] / item.quantity) for item in items), Decimal())
        self._transact(order, "Shipment", "Order Payment", amount, items)
        self._touch(order, "OrderStatusChange", _STATUSES[order.status])

    def _pack(self, order: Order, amounts: Mapping[str, int]) -> None:
        order.packages.append(
            {
                "packageReferenceId": str(len(order.packages) + 1),
                "createdTime": _iso(self._now()),
                "packageStatus": {"status": "SHIPPED"},
                "carrier": "Practice Post",
                "trackingNumber": f"PP{self._mint_digits(9)}",
                "packageItems": [
                    {"orderItemId": name, "quantity": quantity} for name, quantity in amounts.items()
                ],
            }
        )

    # ------------------------------------------------------------ effects

    def _cancel(
        self, order: Order, by: str, reasons: Mapping[str, str], reference: str | None, target: Record
    ) -> None:
        """Cancels the whole order now; reads show it after `Habits.cancel_shows_after_s`."""
        order.is_cancelled = True
        self.book.write(
            "cancel_order",
            id=order.id,
            currency=order.currency,
            target={"order": order.id, **target},
            reference=reference,
            by=by,
            reasons=dict(reasons),
        )
        for item in order.items.values():
            self._restock(order, item, item.open, reasons[item.id], target)

        def show() -> None:
            order.status = "CANCELLED"
            for item in order.items.values():
                item.cancelled += item.open
                item.execution = (by, reasons[item.id])
            self._touch(order, "OrderStatusChange", "Canceled")

        self._after(self.habits.cancel_shows_after_s, show)

    def _restock(self, order: Order, item: Item, quantity: int, reason: str, target: Record) -> None:
        if self.habits.restocks_cancelled and reason != "NoInventory" and order.fulfilled_by == "MERCHANT":
            self.book.write(
                "restock",
                id=item.sku,
                target={"order": order.id, "item": item.id, **target},
                quantity=quantity,
            )

    def _refund(
        self,
        order: Order,
        amount: Decimal,
        items: Sequence[Item],
        by: str,
        target: Record,
        lines: Sequence[Record],
    ) -> None:
        """Pays the buyer now; finances show it after `Habits.finances_lag_s`."""
        refund_id = self._mint_digits(12)
        references = [line["reference"] for line in lines if line["reference"]]
        self.book.write(
            "refund",
            id=refund_id,
            amount_minor=_minor(amount, order.currency),
            currency=order.currency,
            target={"order": order.id, **target},
            reference=references[0] if references else None,
            references=references,
            by=by,
            items=list(lines),
        )
        fee = _cents(amount * self.habits.returned_fee_percent / 100)
        self._after(
            self.habits.finances_lag_s,
            lambda: self._transact(
                order, "Refund", "Refund Order", fee - amount, items, refund=refund_id, paid=amount
            ),
            "post",
        )

    def _transact(
        self,
        order: Order,
        kind: str,
        description: str,
        total: Decimal,
        items: Sequence[Item],
        *,
        refund: str = "",
        paid: Decimal = Decimal(),
        when: datetime | None = None,
    ) -> None:
        """Posts a transaction: positive to the seller, negative from it."""
        posted = when or self._now()
        parts = (
            {"Product Charges": -paid, "Amazon Fees": total + paid} if refund else {"Product Charges": total}
        )
        related = [("ORDER_ID", order.id), *([("REFUND_ID", refund)] if refund else [])]
        transaction: Record = {
            "sellingPartnerMetadata": {
                "sellingPartnerId": SELLER_ID,
                "accountType": "PAYABLE",
                "marketplaceId": order.marketplace,
            },
            "relatedIdentifiers": [
                {"relatedIdentifierName": name, "relatedIdentifierValue": value} for name, value in related
            ],
            "transactionType": kind,
            "transactionId": self.mint(length=43),
            "transactionStatus": "RELEASED",
            "description": description,
            "postedDate": _iso(posted),
            "totalAmount": _currency(total, order.currency),
            "marketplaceDetails": {
                "marketplaceId": order.marketplace,
                "marketplaceName": _MARKETPLACES[order.marketplace][0],
            },
            "items": [
                {
                    "description": item.sku,
                    "relatedIdentifiers": [
                        {
                            "itemRelatedIdentifierName": "ORDER_ADJUSTMENT_ITEM_ID",
                            "itemRelatedIdentifierValue": self._mint_digits(14),
                        }
                    ],
                    "contexts": [
                        {
                            "contextType": "ProductContext",
                            "sku": item.sku,
                            "quantityShipped": item.shipped,
                            "fulfillmentNetwork": _network(order),
                        }
                    ],
                }
                for item in items
            ],
            "breakdowns": [
                {"breakdownType": name, "breakdownAmount": _currency(value, order.currency), "breakdowns": []}
                for name, value in parts.items()
                if value
            ],
        }
        self.transactions.append(transaction)
        if when is None:
            self._notify(
                "TRANSACTION_UPDATE",
                {
                    "TransactionUpdateNotification": {
                        "SellingPartnerMetadata": {
                            "SellingPartnerId": SELLER_ID,
                            "MarketplaceId": order.marketplace,
                            "AccountType": "PAYABLE",
                        },
                        "RelatedIdentifiers": [
                            {"RelatedIdentifierName": "OrderId", "RelatedIdentifierValue": order.id}
                        ],
                        "TransactionType": kind,
                        "PostedDate": _iso(posted),
                        "TotalAmount": {"CurrencyAmount": float(total), "CurrencyCode": order.currency},
                    }
                },
            )

    def _list_transactions(self, call: Call) -> Answer:
        """A page of what was posted, the oldest first; the newest moments are never in it."""
        asked = _asked(call)
        name, value = asked.get("relatedIdentifierName", ""), asked.get("relatedIdentifierValue", "")
        if bool(name) != bool(value) or name not in ("", "ORDER_ID", "FINANCIAL_EVENT_GROUP_ID"):
            fail(400, "InvalidInput", "The related identifier is invalid.")
        if not name and "postedAfter" not in asked:
            fail(400, "InvalidInput", "Start date cannot be null", "Start date cannot be null")
        now = self._now()
        after = _moment(asked, "postedAfter") if "postedAfter" in asked else datetime.fromtimestamp(0, UTC)
        before = now - timedelta(seconds=self.habits.lists_lag_s)
        if "postedAfter" in asked and after > now - TWO_MINUTES:
            fail(400, "InvalidInput", "postedAfter must be more than two minutes before now.")
        if "postedBefore" in asked:
            before = _moment(asked, "postedBefore")
            if before <= after or before > now - TWO_MINUTES:
                fail(
                    400, "InvalidInput", "postedBefore must be after postedAfter and two minutes before now."
                )
        if asked.get("transactionStatus", "RELEASED") not in ("DEFERRED", "RELEASED", "DEFERRED_RELEASED"):
            fail(400, "InvalidInput", "The transaction status is invalid.")
        criteria = {key: text for key, text in asked.items() if key != "nextToken"}
        start = self._read_page(asked["nextToken"], criteria) if "nextToken" in asked else 0
        is_too_wide = {"postedAfter", "postedBefore"} <= set(asked) and before - after > timedelta(days=180)
        found = [
            each
            for each in sorted(self.transactions, key=lambda each: str(each["postedDate"]))
            if not is_too_wide
            and _iso(after) <= each["postedDate"] < _iso(before)
            and asked.get("transactionStatus", "RELEASED") == each["transactionStatus"]
            and (not name or {"relatedIdentifierName": name, "relatedIdentifierValue": value} in each["relatedIdentifiers"])
            and _is_in_marketplace(each, asked.get("marketplaceId", ""))
        ]  # fmt: skip
        size = self.habits.transactions_page
        payload: Record = {"transactions": found[start : start + size]}
        if start + size < len(found):
            payload["nextToken"] = self._make_page(criteria, start + size)
        return Answer(200, {"payload": payload})

    # ------------------------------------------------------------ feeds

    def _create_document(self, call: Call) -> Answer:
        body = _read_body(call)
        kind = body.get("contentType")
        if not isinstance(kind, str) or "/" not in kind:
            fail(400, "InvalidInput", "Invalid Input", "contentType is missing or invalid")
        document = self._new_document(kind)
        return Answer(
            201,
            {"feedDocumentId": document.id, "url": self._presign(call, document, "PUT", "content-type;host")},
        )

    def _new_document(self, content_type: str) -> Document:
        document = Document(f"amzn1.tortuga.4.na.{uuid.uuid4()}.{self.mint(length=14).upper()}", content_type)
        self.documents[document.id] = document
        return document

    def _presign(self, call: Call, document: Document, method: str, signed: str) -> str:
        now, signature = self._now(), hashlib.sha256(uuid.uuid4().bytes).hexdigest()
        document.grants[signature] = (method, now + timedelta(seconds=PRESIGNED_LIFE_S))
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": f"{now:%Y%m%dT%H%M%SZ}",
            "X-Amz-SignedHeaders": signed,
            "X-Amz-Expires": str(PRESIGNED_LIFE_S),
            "X-Amz-Credential": f"AKIAPRACTICETORTUGA0/{now:%Y%m%d}/us-east-1/s3/aws4_request",
            "X-Amz-Signature": signature,
        }
        host = call.headers.get("host", "")
        base = f"http://{host}/{self.name}" if host else "https://tortuga-prod-na.s3-external-1.amazonaws.com"
        return f"{base}/NinetyDays/{document.id}?{urlencode(query)}"

    def _open_document(self, call: Call) -> Document:
        """The document that a pre-signed address opens, as S3 checks it."""
        document = self.documents.get(call.ids["id"])
        signature = dict(call.query_pairs).get("X-Amz-Signature", "")
        method, ends = document.grants.get(signature, ("", None)) if document else ("", None)
        if "authorization" in call.headers:
            raise RefusalError(_s3_error(400, "InvalidArgument", "Only one auth mechanism allowed"))
        if document is None or ends is None or method != call.method:
            raise RefusalError(_s3_error(403, "SignatureDoesNotMatch", "The signature does not match."))
        if self._now() >= ends:
            raise RefusalError(_s3_error(403, "AccessDenied", "Request has expired"))
        # Every x-amz header must have been signed, and a pre-signed address signs none.
        if any(name.startswith("x-amz-") for name in call.headers):
            raise RefusalError(
                _s3_error(403, "AccessDenied", "There were headers present which were not signed")
            )
        return document

    def _upload(self, call: Call) -> Answer:
        document = self._open_document(call)
        if call.headers.get("content-type", "") != document.content_type:
            return _s3_error(403, "SignatureDoesNotMatch", "The signature does not match.")
        document.content = call.body
        return Answer(200, None, {"ETag": f'"{hashlib.md5(call.body, usedforsecurity=False).hexdigest()}"'})

    def _download(self, call: Call) -> Answer:
        document = self._open_document(call)
        headers = {"Content-Encoding": "gzip"} if "response-content-encoding" in call.query else {}
        return Answer(200, document.content, headers, document.content_type)

    def _create_feed(self, call: Call) -> Answer:
        body = _read_body(call)
        match body:
            case {
                "feedType": str(kind),
                "marketplaceIds": [*marketplaces],
                "inputFeedDocumentId": str(document_id),
            } if 1 <= len(marketplaces) <= 25 and all(isinstance(each, str) for each in marketplaces):
                pass
            case _:
                fail(400, "InvalidInput", "Invalid Input", "feedType, marketplaceIds and inputFeedDocumentId")
        if kind not in (ACKNOWLEDGEMENT, ADJUSTMENT):
            fail(400, "InvalidInput", "Invalid Input", f"feedType {kind} is invalid")
        document = self.documents.get(document_id)
        if document is None or document.is_report:
            fail(400, "InvalidInput", "Invalid Input", "inputFeedDocumentId is invalid")
        self._last_id += 1
        feed = Feed(
            id=str(self._last_id),
            type=kind,
            marketplaces=marketplaces,
            created=self._now(),
            content=document.content,
            is_held=call.has(Kind.SLOW_PENDING),
        )
        self.feeds[feed.id] = feed
        self._after(self.habits.feed_queue_s, lambda: self._start_feed(feed))
        return Answer(202, {"feedId": feed.id})

    def _start_feed(self, feed: Feed) -> None:
        if feed.status != "IN_QUEUE":
            return
        if not set(feed.marketplaces) <= set(_MARKETPLACES):
            self._end_feed(feed, "CANCELLED")
        elif feed.content is None:
            feed.started = self._now()
            self._end_feed(feed, "FATAL")
        else:
            feed.started = self._now()
            feed.status = "IN_PROGRESS"
            self._after(self.habits.feed_work_s, lambda: None if feed.is_held else self._work(feed))

    def _work(self, feed: Feed) -> None:
        if feed.status in _FINAL:
            return
        try:
            messages = _read_feed(feed)
        except MalformedError as wrong:
            text = f"This is a malformed or invalid XML document: {wrong}."
            results, count = [(0, LineError("5000", text), "")], 1
        else:
            results, count = self._execute(feed, messages), len(messages)
        report = self._new_document("text/xml; charset=UTF-8")
        report.is_report = True
        report.content = _report(feed.id, count, results).encode()
        if self.habits.gzips_reports:
            report.content, report.is_packed = gzip.compress(report.content), True
        feed.report = report.id
        self._end_feed(feed, "DONE")

    def _end_feed(self, feed: Feed, status: str) -> None:
        feed.status = status
        feed.ended = self._now()
        told = {
            "sellerId": SELLER_ID,
            "accountId": f"amzn1.merchant.o.{SELLER_ID}",
            "feedId": feed.id,
            "feedType": feed.type,
            "processingStatus": status,
            **({"resultFeedDocumentId": feed.report} if feed.report else {}),
        }
        self._notify("FEED_PROCESSING_FINISHED", {"feedProcessingFinishedNotification": told})

    def _execute(
        self, feed: Feed, messages: Sequence[tuple[int, ElementTree.Element]]
    ) -> list[tuple[int, LineError, str]]:
        """Carries messages out in their order; returns those refused, with their order's id. Each stands for itself."""
        refused = []
        for number, body in messages:
            order_id = _text(body, "AmazonOrderID")
            target = {"feed": feed.id, "message": number}
            try:
                order = self.orders.get(order_id)
                if order is None:
                    raise LineError("18001", "The order is not one of this seller")
                if order.fulfilled_by == "AMAZON":
                    raise LineError("18002", "The order is fulfilled by Amazon")
                if order.feed_refusal is not None:
                    raise LineError("18028", order.feed_refusal)
                if feed.type == ACKNOWLEDGEMENT:
                    self._acknowledge(order, body, target)
                else:
                    self._adjust(order, body, target)
            except LineError as wrong:
                refused.append((number, wrong, order_id))
        return refused

    def _acknowledge(self, order: Order, body: ElementTree.Element, target: Record) -> None:
        reference = _text(body, "MerchantOrderID") or None
        if _text(body, "StatusCode") == "Success":
            order.alias = reference or order.alias
            self.book.write(
                "acknowledge_order", id=order.id, target={"order": order.id, **target}, reference=reference
            )
            return
        if order.is_cancelled:
            raise LineError("18003", "The order is already cancelled")
        if order.status not in ("UNSHIPPED", "PARTIALLY_SHIPPED", "SHIPPED"):
            raise LineError("18004", f"The order is {order.status} and cannot be cancelled yet")
        reasons = {
            _text(item, "AmazonOrderItemCode"): _text(item, "CancelReason") for item in body.iter("Item")
        }
        if not reasons:
            return
        for item_id, reason in reasons.items():
            if item_id not in order.items or not reason:
                raise LineError("18028", "The item is not in the order, or has no reason", item_id)
        if missing := set(order.items) - set(reasons):
            raise LineError("18028", "An item of the order is missing", min(missing))
        if any(item.shipped for item in order.items.values()):
            lines = [{"item": item_id, "reference": reference} for item_id in reasons]
            self._refund(order, order.total, list(order.items.values()), "MERCHANT", target, lines)
            return
        self._cancel(order, "MERCHANT", reasons, reference, target)

    def _adjust(self, order: Order, body: ElementTree.Element, target: Record) -> None:
        """All items are checked before one is paid or cancelled."""
        lines = [self._check_adjusted(order, each, body) for each in body.iter("AdjustedItem")]
        if len({line["item"] for line in lines}) < len(lines):
            raise LineError("18028", "An item is listed twice", lines[0]["item"])
        paid = [line for line in lines if line["amount"]]
        for line in lines:
            if quantity := line["cancelled"]:
                item = order.items[line["item"]]
                item.cancelled += quantity
                self.book.write(
                    "cancel_item",
                    id=item.id,
                    target={"order": order.id, **target},
                    reference=line["reference"],
                    quantity=quantity,
                )
                self._restock(order, item, quantity, line["reason"], target)
                if not item.open and not item.shipped:
                    item.execution = ("MERCHANT", line["reason"])
        if any(line["cancelled"] for line in lines):
            if all(item.cancelled == item.quantity for item in order.items.values()):
                order.is_cancelled, order.status = True, "CANCELLED"
            elif order.status == "PARTIALLY_SHIPPED" and not any(item.open for item in order.items.values()):
                order.status = "SHIPPED"
            self._touch(order, "OrderStatusChange", _STATUSES[order.status])
        if paid:
            amount = sum((Decimal(line["amount"]) for line in paid), Decimal())
            items = [order.items[line["item"]] for line in paid]
            self._refund(order, amount, items, "MERCHANT", target, paid)

    def _check_adjusted(
        self, order: Order, adjusted: ElementTree.Element, body: ElementTree.Element
    ) -> Record:
        item_id = _text(adjusted, "AmazonOrderItemCode")
        item = order.items.get(item_id)
        if item is None:
            raise LineError("18028", "The item is not in the order", item_id)
        cancelled = int(_text(adjusted, "QuantityCancelled") or 0)
        components = [
            (_text(each, "Type"), each.find("Amount"))
            for each in adjusted.iterfind("ItemPriceAdjustments/Component")
        ]
        if bool(cancelled) == bool(components):
            raise LineError("18028", "Either amounts or a cancelled quantity are needed", item_id)
        if cancelled and (cancelled > item.open or order.is_cancelled or order.status.startswith("PENDING")):
            raise LineError("18005", "So many are not waiting for shipment", item_id)
        if components and _text(body, "ActionType") == "Cancel":
            raise LineError("18028", "The data submitted with this item is incomplete or invalid", item_id)
        if components and not item.shipped:
            raise LineError("18006", "The item has not been shipped", item_id)
        total = Decimal()
        for kind, amount in components:
            value = Decimal((amount.text or "0") if amount is not None else "0")
            currency = amount.get("currency") if amount is not None else None
            if currency != order.currency or value <= 0 or _minor(value, order.currency) is None:
                raise LineError("18028", "The amount is not one of the order's currency", item_id)
            if kind in ("Tax", "ShippingTax") and not order.is_tax_ours:
                raise LineError("18007", "The refund amount asked for tax is not eligible", item_id)
            total += value
        return {
            "item": item_id,
            "reference": _text(adjusted, "MerchantAdjustmentItemID") or None,
            "reason": _text(adjusted, "AdjustmentReason"),
            "amount": str(total) if components else "",
            "cancelled": cancelled,
        }

    def _get_feed(self, call: Call) -> Answer:
        feed = self.feeds.get(call.ids["id"])
        if feed is None:
            fail(404, "NotFound", "The resource specified does not exist.")
        return Answer(200, _feed_view(feed))

    def _get_feeds(self, call: Call) -> Answer:
        """A page of feeds, the newest first. They name no document and no message, only type and time."""
        asked = _asked(call)
        if "nextToken" in asked:
            if len(asked) > 1:
                fail(400, "InvalidInput", "Invalid Input", "nextToken must be the only parameter")
            ends, asked, start = self._pages.get(asked["nextToken"], (self._now(), {}, 0))
            if ends <= self._now():
                fail(400, "InvalidInput", "Invalid Input", "nextToken is invalid or has expired")
        else:
            start = 0
        kinds = _choices(asked, "feedTypes", None, most=10)
        if not kinds:
            fail(400, "InvalidInput", "Invalid Input", "feedTypes or nextToken is required")
        statuses = _choices(asked, "processingStatuses", _FEED_STATUSES)
        marketplaces = _choices(asked, "marketplaceIds", None, most=10)
        size = _whole(asked, "pageSize", 10, 100)
        now = self._now()
        since = _moment(asked, "createdSince") if "createdSince" in asked else now - FEED_LIFE
        until = _moment(asked, "createdUntil") if "createdUntil" in asked else now
        newest = min(until, now - timedelta(seconds=self.habits.feeds_list_lag_s))
        found = [
            feed
            for feed in reversed(self.feeds.values())
            if feed.type in kinds
            and (not statuses or feed.status in statuses)
            and (not marketplaces or set(feed.marketplaces) & set(marketplaces))
            and since <= feed.created <= newest
        ]
        answer: Record = {"feeds": [_feed_view(feed) for feed in found[start : start + size]]}
        if start + size < len(found):
            answer["nextToken"] = self._make_page(asked, start + size)
        return Answer(200, answer)

    def _get_document(self, call: Call) -> Answer:
        """A report's address; a document of the caller's own is not given out again."""
        document = self.documents.get(call.ids["id"])
        if document is None or not document.is_report:
            fail(400, "InvalidInput", "Invalid Input", "feedDocumentId is invalid")
        url = self._presign(call, document, "GET", "host")
        if document.is_packed and _asked(call).get("enableContentEncodingUrlHeader") == "true":
            url += "&response-content-encoding=gzip"
        packed = {"compressionAlgorithm": "GZIP"} if document.is_packed else {}
        return Answer(200, {"feedDocumentId": document.id, "url": url, **packed})

    # ------------------------------------------------------------ notifications and their queue

    def _notify_order(self, order: Order, change: str, reason: str) -> None:
        now, is_asked = _iso(self._now()), change == "BuyerRequestedChange"
        items = order.items.values()
        summary: Record = {
            "MarketplaceId": order.marketplace,
            "OrderStatus": _STATUSES[order.status],
            "PurchaseDate": _iso(order.created),
            "DestinationPostalCode": "48110",
            "FulfillmentType": _network(order),
            "OrderType": "StandardOrder",
            "NumberOfItemsShipped": sum(item.shipped for item in items),
            "NumberOfItemsUnshipped": sum(item.open for item in items),
            **({"CancelNotifyDate": now} if is_asked else {}),
            "OrderItems": [
                {
                    "OrderItemId": item.id,
                    "SellerSKU": item.sku,
                    "SupplySourceId": None,
                    "OrderItemStatus": "Shipped" if item.shipped and not item.open else "Unshipped",
                    "Quantity": item.quantity,
                    "QuantityShipped": item.shipped,
                    "IsBuyerRequestedCancel": item.request is not None,
                }
                for item in items
            ],
        }
        told = {
            "NotificationLevel": "OrderLevel",
            "SellerId": SELLER_ID,
            "AmazonOrderId": order.id,
            "OrderChangeType": change,
            "OrderChangeTrigger": {"TimeOfOrderChange": now, "ChangeReason": reason},
            "Summary": summary,
        }
        self._notify("ORDER_CHANGE", {"OrderChangeNotification": told})

    def _notify(self, topic: str, payload: Record) -> None:
        """Puts a notification into the queue where its type is subscribed to. Two types write names large, one small."""
        if topic not in self.topics:
            return
        notification_id, now = str(uuid.uuid4()), _iso(self._now())
        version = "2020-09-04" if topic == "FEED_PROCESSING_FINISHED" else "1.0"
        told: Record = {
            "NotificationVersion": version,
            "NotificationType": topic,
            "PayloadVersion": version,
            "EventTime": now,
            "Payload": payload,
            "NotificationMetadata": {
                "ApplicationId": "amzn1.sellerapps.app.practice",
                "SubscriptionId": f"practice-{topic.lower()}",
                "PublishTime": now,
                "NotificationId": notification_id,
            },
        }
        if topic == "FEED_PROCESSING_FINISHED":
            told["NotificationMetadata"] = _small(told["NotificationMetadata"])
            told = _small(told)
        self._sent[notification_id] = json.dumps(told)
        for _ in range(self.habits.notification_copies):
            self._enqueue(notification_id)

    def _enqueue(self, notification_id: str) -> None:
        now = self._now()
        self.queue.append(Message(str(uuid.uuid4()), notification_id, self._sent[notification_id], now, now))

    def serve(self, call: Call, operation: Operation) -> Answer:
        """A waiting receive is held here, where the lock is free, so that a message can come meanwhile."""
        if operation.name == "receive_message":
            self._hold(call)
        return super().serve(call, operation)

    def _hold(self, call: Call) -> None:
        wait = call.json.get("WaitTimeSeconds") if isinstance(call.json, dict) else None
        if isinstance(wait, bool) or not isinstance(wait, int) or not 0 < wait <= 20:
            return
        for _ in range(int(min(wait, self.habits.long_poll_most_s) / _POLL_S)):
            with self.lock:
                if self.authorise(call) is not None:
                    return
                self._tick()
                if self._visible():
                    return
            if self.world.stopping.wait(_POLL_S):
                return

    def _visible(self) -> list[Message]:
        now = self._now()
        self.queue = [message for message in self.queue if message.sent + MESSAGE_LIFE > now]
        found = [message for message in self.queue if message.visible <= now]
        return found[::-1] if self.habits.newest_first else found

    def _receive_messages(self, call: Call) -> Answer:
        asked = self._read_queue_call(call)
        most = _aws_whole(asked, "MaxNumberOfMessages", 1, 1, 10)
        hidden_s = _aws_whole(asked, "VisibilityTimeout", self.habits.visibility_s, 0, 43_200)
        _aws_whole(asked, "WaitTimeSeconds", 0, 0, 20)
        wanted = set(asked.get("MessageSystemAttributeNames") or asked.get("AttributeNames") or ())
        now = self._now()
        received = []
        for message in self._visible()[:most]:
            message.visible = now + timedelta(seconds=hidden_s)
            message.first_received = message.first_received or now
            message.receipts.append(self.mint("AQEB", 60))
            attributes = {
                "SenderId": "437568002678",
                "SentTimestamp": _millis(message.sent),
                "ApproximateReceiveCount": str(len(message.receipts)),
                "ApproximateFirstReceiveTimestamp": _millis(message.first_received),
            }
            chosen = {name: value for name, value in attributes.items() if wanted & {name, "All"}}
            received.append(
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.receipts[-1],
                    "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
                    "Body": message.body,
                    **({"Attributes": chosen} if chosen else {}),
                }
            )
        return Answer(200, {"Messages": received} if received else {}, content_type=_AWS_JSON)

    def _delete_message(self, call: Call) -> Answer:
        """Deletes by the newest receipt. An older one is answered well and deletes nothing, as is one used before."""
        handle = self._read_queue_call(call).get("ReceiptHandle")
        if not isinstance(handle, str) or not handle:
            return _aws_error(
                400, "MissingParameter", "The request must contain the parameter ReceiptHandle."
            )
        holder = next((message for message in self.queue if handle in message.receipts), None)
        if holder is None and handle not in self._deleted:
            return _aws_error(
                400, "ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not valid.'
            )
        if holder is not None and holder.receipts[-1] == handle:
            self.queue.remove(holder)
            self._deleted.update(holder.receipts)
        return Answer(200, None, content_type=_AWS_JSON)

    def _read_queue_call(self, call: Call) -> Record:
        body = call.json
        url = body.get("QueueUrl") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(url, str) or not url:
            raise RefusalError(
                _aws_error(400, "MissingParameter", "The request must contain the parameter QueueUrl.")
            )
        # The host is not looked at: the practice queue may stand at any address.
        if not urlsplit(url).path.endswith(QUEUE_PATH):
            code = "AWS.SimpleQueueService.NonExistentQueue"
            raise RefusalError(_aws_error(400, code, "The specified queue does not exist."))
        return body

    def _check_signature(self, call: Call) -> Answer | None:
        """Signature Version 4, with our key, for this region and SQS, host and all x-amz headers signed, not older than 15 minutes."""
        sent = call.headers.get("authorization", "")
        if not sent:
            return _aws_error(403, "MissingAuthenticationToken", "Missing Authentication Token")
        found, date = _AUTHORIZATION.fullmatch(sent), call.headers.get("x-amz-date", "")
        if found is None or not re.fullmatch(r"\d{8}T\d{6}Z", date):
            return _aws_error(
                400, "IncompleteSignature", "The request signature does not conform to AWS standards."
            )
        key, scope, names, signature = found.groups()
        if key != AWS_ACCESS_KEY_ID:
            return self.unauthorised(call)
        signed = names.split(";")
        needed = {"host", *(name for name in call.headers if name.startswith("x-amz-"))}
        headers = [(name, call.headers.get(name, "")) for name in signed]
        # The prefix that this vendor stands under is part of the path that was signed, or not, where something in front takes it off.
        paths = {call.path, f"/{self.name}{call.path}", *([f"/{self.name}"] if call.path == "/" else [])}
        expected = {
            signature_v4(
                AWS_SECRET_ACCESS_KEY,
                method=call.method,
                path=path,
                headers=headers,
                body=call.body,
                query=call.query_pairs,
                date=date,
                region=AWS_REGION,
                service="sqs",
            )
            for path in paths
        }
        is_scoped = scope == f"{date[:8]}/{AWS_REGION}/sqs/aws4_request"
        if not is_scoped or not needed <= set(signed) or signature not in expected:
            return _aws_error(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        # A caller's clock may run ahead with ours in a rehearsal, or not know of it.
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if min(abs(self.world.callers_clock() - at), abs(self.world.clock() - at)) > SIGNATURE_SKEW:
            return _aws_error(400, "RequestExpired", "The request's date is more than 15 minutes from now.")
        return None


# ---------------------------------------------------------------- requests read


_QUOTA_EXCEEDED: Final = _error(429, "QuotaExceeded", "You exceeded your quota for the requested resource.")


def _lwa_error(status: int, error: str, description: str) -> Answer:
    return Answer(status, {"error_description": description, "error": error})


def _asked(call: Call) -> Record:
    """The query; a list that is sent in several parameters is one with commas."""
    asked: Record = {}
    for name, value in call.query_pairs:
        asked[name] = f"{asked[name]},{value}" if name in asked else value
    return asked


def _read_body(call: Call) -> Record:
    if call.content_type != "application/json":
        fail(415, "UnsupportedMediaType", "The request's Content-Type header is invalid.")
    body = call.json
    if not isinstance(body, dict):
        fail(400, "InvalidInput", "Invalid Input")
    return body


def _choices(asked: Record, name: str, allowed: Sequence[str] | None, *, most: int = 100) -> list[str]:
    values = asked[name].split(",") if name in asked else []
    if len(values) > most or any(not each or (allowed and each not in allowed) for each in values):
        fail(400, "InvalidInput", "Invalid Input", f"{name} is invalid")
    return values


def _whole(asked: Record, name: str, default: int, most: int) -> int:
    text = asked.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        fail(400, "InvalidInput", "Invalid Input", f"{name} must be between 1 and {most}")
    return int(text)


def _moment(asked: Record, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(asked[name])
    except ValueError:
        fail(400, "InvalidInput", "Invalid Input", f"{name} is not in ISO 8601 format")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _aws_whole(asked: Record, name: str, default: int, least: int, most: int) -> int:
    value = asked.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        message = (
            f"Value {value} for parameter {name} is invalid. Reason: Must be between {least} and {most}."
        )
        raise RefusalError(_aws_error(400, "InvalidParameterValue", message))
    return value


# ---------------------------------------------------------------- a feed's document

# What an element holds, in the order that it must come in, and what of that must be there.
_SHAPES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "AmazonEnvelope": (
        ("Header", "MessageType", "PurgeAndReplace", "Message"),
        ("Header", "MessageType", "Message"),
    ),
    "Header": (("DocumentVersion", "MerchantIdentifier"), ("DocumentVersion", "MerchantIdentifier")),
    "Message": (("MessageID", "OperationType", "OrderAcknowledgement", "OrderAdjustment"), ("MessageID",)),
    "OrderAcknowledgement": (
        ("AmazonOrderID", "MerchantOrderID", "StatusCode", "Item"),
        ("AmazonOrderID", "StatusCode"),
    ),
    "Item": (
        ("AmazonOrderItemCode", "MerchantOrderItemID", "CancelReason", "Quantity"),
        ("AmazonOrderItemCode",),
    ),
    "OrderAdjustment": (("AmazonOrderID", "ActionType", "AdjustedItem"), ("AmazonOrderID", "AdjustedItem")),
    "AdjustedItem": (
        (
            *("AmazonOrderItemCode", "MerchantAdjustmentItemID", "AdjustmentReason"),
            *("ItemPriceAdjustments", "QuantityCancelled", "Quantity"),
        ),
        ("AmazonOrderItemCode", "AdjustmentReason"),
    ),
    "ItemPriceAdjustments": (("Component",), ("Component",)),
    "Component": (("Type", "Amount"), ("Type", "Amount")),
}
_REPEATED: Final = ("Message", "Item", "AdjustedItem", "Component")
_WORDS: Final[Mapping[str, Sequence[str]]] = {
    "StatusCode": ("Success", "Failure"),
    "CancelReason": _CANCEL_REASONS,
    "ActionType": ("Refund", "Cancel"),
    "AdjustmentReason": _ADJUSTMENT_REASONS,
    "Type": _COMPONENTS,
}
_TEXTS: Final[Mapping[str, re.Pattern[str]]] = {
    "MerchantIdentifier": re.compile(re.escape(SELLER_ID)),
    "DocumentVersion": re.compile(r"1\.0[0-9]"),
    "MessageID": re.compile(r"[1-9][0-9]{0,19}"),
    "AmazonOrderID": _ORDER_ID,
    "AmazonOrderItemCode": _ITEM_ID,
    "MerchantOrderID": re.compile(r".{1,64}"),
    "Amount": _AMOUNT,
    "Quantity": re.compile(r"[1-9][0-9]*"),
    "QuantityCancelled": re.compile(r"[1-9][0-9]*"),
}


def _read_feed(feed: Feed) -> list[tuple[int, ElementTree.Element]]:
    """The messages of a document, with their numbers. Raises MalformedError."""
    try:
        root = ElementTree.fromstring(feed.content or b"")  # noqa: S314 (what tests upload to a practice vendor)
    except ElementTree.ParseError as wrong:
        raise MalformedError(str(wrong)) from wrong
    kind = "OrderAcknowledgement" if feed.type == ACKNOWLEDGEMENT else "OrderAdjustment"
    if root.tag != "AmazonEnvelope":
        raise MalformedError(f"it begins with {root.tag}")
    _check(root)
    if _text(root, "MessageType") != kind:
        raise MalformedError(f"its MessageType is not {kind}")
    messages = []
    for message in root.iterfind("Message"):
        body = message.find(kind)
        if body is None or len(message) - (message.find("OperationType") is not None) != 2:
            raise MalformedError(f"a message has not one {kind}")
        messages.append((int(_text(message, "MessageID")), body))
    if len({number for number, _ in messages}) < len(messages):
        raise MalformedError("two messages have one MessageID")
    return messages


def _check(element: ElementTree.Element) -> None:
    """Raises MalformedError unless the element and all in it are what the schema allows."""
    if element.tag not in _SHAPES:
        text = element.text or ""
        if element.tag in _WORDS and text not in _WORDS[element.tag]:
            raise MalformedError(f"{element.tag} is {text!r}")
        if element.tag in _TEXTS and not _TEXTS[element.tag].fullmatch(text):
            raise MalformedError(f"{element.tag} is {text!r}")
        if element.tag == "Amount" and not re.fullmatch(r"[A-Z]{3}", element.get("currency", "")):
            raise MalformedError("Amount has no currency")
        return
    names, needed = _SHAPES[element.tag]
    tags = [child.tag for child in element]
    if strange := [tag for tag in tags if tag not in names]:
        raise MalformedError(f"{element.tag} has no {strange[0]}")
    if tags != sorted(tags, key=names.index):
        raise MalformedError(f"the elements of {element.tag} come in another order")
    for name in names:
        count = tags.count(name)
        if (name in needed and not count) or (count > 1 and name not in _REPEATED):
            raise MalformedError(f"{element.tag} has {count} {name}")
    for child in element:
        _check(child)


def _text(element: ElementTree.Element, name: str) -> str:
    return element.findtext(name) or ""


def _report(feed_id: str, count: int, refused: Sequence[tuple[int, LineError, str]]) -> str:
    """A processing report, as XML."""
    lines = "".join(
        f"<Result><MessageID>{number}</MessageID><ResultCode>Error</ResultCode>"
        f"<ResultMessageCode>{wrong.code}</ResultMessageCode>"
        f"<ResultDescription>{escape(wrong.text)}</ResultDescription>"
        + _tags("AdditionalInfo", {"AmazonOrderID": order_id, "AmazonOrderItemCode": wrong.item})
        + "</Result>"
        for number, wrong, order_id in refused
    )
    summary = _tags(
        "ProcessingSummary",
        {
            "MessagesProcessed": str(count),
            "MessagesSuccessful": str(count - len(refused)),
            "MessagesWithError": str(len(refused)),
            "MessagesWithWarning": "0",
        },
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<AmazonEnvelope>'
        + _tags("Header", {"DocumentVersion": "1.02", "MerchantIdentifier": SELLER_ID})
        + "<MessageType>ProcessingReport</MessageType><Message><MessageID>1</MessageID><ProcessingReport>"
        f"<DocumentTransactionID>{feed_id}</DocumentTransactionID><StatusCode>Complete</StatusCode>"
        f"{summary}{lines}</ProcessingReport></Message></AmazonEnvelope>"
    )


def _tags(name: str, values: Mapping[str, str]) -> str:
    inner = "".join(f"<{tag}>{escape(value)}</{tag}>" for tag, value in values.items() if value)
    return f"<{name}>{inner}</{name}>" if inner else ""


# ---------------------------------------------------------------- what is shown


def _order_view(order: Order, datasets: Sequence[str]) -> Record:
    """The order as reads give it: what `includedData` does not name is not there."""
    view: Record = {
        "orderId": order.id,
        **(
            {"orderAliases": [{"aliasId": order.alias, "aliasType": "SELLER_ORDER_ID"}]}
            if order.alias
            else {}
        ),
        "createdTime": _iso(order.created),
        "lastUpdatedTime": _iso(order.updated),
        "programs": [],
        "salesChannel": {
            "channelName": "AMAZON",
            "marketplaceId": order.marketplace,
            "marketplaceName": _MARKETPLACES[order.marketplace][0],
        },
        "orderItems": [_item_view(order, item, datasets) for item in order.items.values()],
    }
    if "BUYER" in datasets:
        view["buyer"] = {"buyerName": "Ada Practice", "buyerEmail": "practice@marketplace.amazon.example"}
    if "PROCEEDS" in datasets:
        view["proceeds"] = {
            "grandTotal": _money(order.total, order.currency),
            "breakdowns": [
                {"type": kind, "subtotal": _money(value, order.currency)}
                for kind, value in _breakdown(order.items.values()).items()
            ],
        }
    if "FULFILLMENT" in datasets:
        view["fulfillment"] = {
            "fulfillmentStatus": order.status,
            "fulfilledBy": order.fulfilled_by,
            "fulfillmentServiceLevel": "STANDARD",
        }
    if "PACKAGES" in datasets and order.packages:
        view["packages"] = order.packages
    return view


def _item_view(order: Order, item: Item, datasets: Sequence[str]) -> Record:
    view: Record = {
        "orderItemId": item.id,
        "quantityOrdered": item.quantity,
        "product": {
            "asin": "B0PRACTICE",
            "title": f"Practice {item.sku}",
            "sellerSku": item.sku,
            "price": {"unitPrice": _money(item.unit_price, order.currency)},
        },
    }
    if "PROCEEDS" in datasets:
        view["proceeds"] = {
            "proceedsTotal": _money(item.total, order.currency),
            "breakdowns": [
                {"type": kind, "subtotal": _money(value, order.currency)}
                for kind, value in _breakdown([item]).items()
            ],
        }
    if "FULFILLMENT" in datasets:
        view["fulfillment"] = {"quantityFulfilled": item.shipped, "quantityUnfulfilled": item.open}
    if "TAX" in datasets and not order.is_tax_ours:
        collected = {"model": "MARKETPLACE_FACILITATOR", "responsibleParty": "Amazon Services, Inc."}
        view["tax"] = {"taxCollections": [collected]}
    if "CANCELLATION" in datasets and (item.request or item.execution):
        cancellation: Record = {}
        if item.request:
            cancellation["cancellationRequest"] = {"requester": "BUYER", "cancelReason": item.request}
        if item.execution:
            by, reason = item.execution
            cancellation["cancellationExecution"] = {"cancelledBy": by, "cancelReason": reason}
        view["cancellation"] = cancellation
    return view


def _breakdown(items: Iterable[Item]) -> dict[str, Decimal]:
    """What the proceeds are made of; only what is not zero, but the goods always."""
    chosen = list(items)
    parts = {
        "ITEM": sum((item.unit_price * item.quantity for item in chosen), Decimal()),
        "SHIPPING": sum((item.shipping for item in chosen), Decimal()),
        "TAX": sum((item.tax for item in chosen), Decimal()),
        "DISCOUNT": -sum((item.discount for item in chosen), Decimal()),
    }
    return {kind: value for kind, value in parts.items() if value or kind == "ITEM"}


def _feed_view(feed: Feed) -> Record:
    return {
        "feedId": feed.id,
        "feedType": feed.type,
        "marketplaceIds": feed.marketplaces,
        "createdTime": _iso(feed.created),
        "processingStatus": feed.status,
        **({"processingStartTime": _iso(feed.started)} if feed.started else {}),
        **({"processingEndTime": _iso(feed.ended)} if feed.ended else {}),
        **({"resultFeedDocumentId": feed.report} if feed.report else {}),
    }


def _is_in_marketplace(transaction: Record, marketplace: str) -> bool:
    """Whether a marketplace filter finds it: seller-fulfilled orders of the US shop are found without a filter only."""
    if not marketplace:
        return True
    networks = {item["contexts"][0]["fulfillmentNetwork"] for item in transaction["items"]}
    is_hidden = marketplace == MARKETPLACE and networks == {"MFN"}
    return bool(transaction["marketplaceDetails"]["marketplaceId"] == marketplace) and not is_hidden


def _network(order: Order) -> str:
    return "MFN" if order.fulfilled_by == "MERCHANT" else "AFN"


def _digits(currency: str) -> int:
    return 0 if currency == "JPY" else 2


def _minor(amount: Decimal, currency: str) -> int | None:
    """Minor units; None where the amount has smaller parts than the currency."""
    scaled = amount.scaleb(_digits(currency))
    return int(scaled) if scaled == scaled.to_integral_value() else None


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


def _money(amount: Decimal, currency: str) -> Record:
    return {"amount": f"{amount:.{_digits(currency)}f}", "currencyCode": currency}


def _currency(amount: Decimal, currency: str) -> Record:
    return {"currencyAmount": float(amount), "currencyCode": currency}


def _small(told: Record) -> Record:
    return {name[0].lower() + name[1:]: value for name, value in told.items()}


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _millis(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))
