"""Amazon, a sales channel: reads and cancels seller-fulfilled orders, returns their money, and is polled. It pays by itself.

Selling Partner API: Orders 2026-01-01, Feeds 2021-06-30, Finances 2024-06-19, Notifications v1 through a queue of SQS
(https://developer-docs.amazon.com/sp-api and github.com/amzn/selling-partner-api-models at 34dc93f, read 2026-11-25). Authorised by a
login-with-Amazon token; roles: "Inventory and Order Tracking" for orders and feeds, "Finance and Accounting" for the money.

Quirks
- Writes are XML feeds: upload a document, create a feed of it, and hours later a report says what became of each message. DONE is
  no success, and nothing in the list of feeds says what a feed was about: only a refused message is named, by its MessageID.
  Ours are made from the wire key, so that a refusal is known as ours; a feed that was accepted is not.
- Nothing keeps a repeat from acting: two equal adjustment feeds pay twice. What was paid is told by the finances alone, up to two
  days late, and without our reference: a refund counts as ours by order, amount, and being posted since the case was opened.
- So a refund is sent only where no feed of ours can be out (`Amazon.refund`, `judge_refund_feeds`). Any adjustment feed since
  the case was opened that is not proven to be something else may be ours, and nothing is sent beside it.
- Before shipment the buyer is not charged: a cancel returns no money, and there is nothing to refund. A cancel feed that meets an
  order which was shipped meanwhile refunds it whole; items without a reason make Amazon do nothing, and report that as clean.
- A cancel raises Amazon's own quantity by itself (not for NoInventory, which counts against the seller).
- Orders that Amazon fulfils are never written to. A PENDING order cannot be cancelled by feed, and may not tell its amounts.
- Tax that Amazon collected goes back by itself; a feed that names it is refused. `totalAmount` of a transaction is net of fees.
- A deferred transaction and its release are the same money twice.
- An expired or revoked token is a 403, as a missing role is; the details tell them apart.
- Rates are small and per operation (one search in three minutes, one new feed in two); 429 comes without Retry-After.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from refundflow.connectors.base import (
    Capability,
    Health,
    Idempotency,
    NoAnswer,
    Operation,
    Polled,
    PolledEvent,
    Spec,
)
from refundflow.connectors.looking import look_first, uncertain
from refundflow.domain.commands import CancelOrder, Command, Refund
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderLine,
    OrderPayment,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
    TakesBack,
)
from refundflow.domain.ids import opened_at
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.money import Money, allocate, exponent_of
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, TokenSource, Wire, parse_json

_DOC: Final = "https://developer-docs.amazon.com/sp-api/reference"
CANCEL_FEED: Final = "POST_ORDER_ACKNOWLEDGEMENT_DATA"
REFUND_FEED: Final = "POST_PAYMENT_ADJUSTMENT_DATA"

SPEC: Final = Spec(
    platform="amazon",
    api_version="orders 2026-01-01, feeds 2021-06-30, finances 2024-06-19",
    base_url="https://sellingpartnerapi-na.amazon.com",
    operations={
        Capability.READ_ORDER: Operation(
            "GET /orders/2026-01-01/orders/{orderId}", Idempotency.READ, f"{_DOC}/getorder"
        ),
        Capability.QUOTE_LINES: Operation(
            "GET /orders/2026-01-01/orders/{orderId}", Idempotency.READ, f"{_DOC}/getorder"
        ),
        # A cancelled order cannot be cancelled again: the second feed is refused.
        Capability.CANCEL_ORDER: Operation(
            f"POST /feeds/2021-06-30/feeds ({CANCEL_FEED})", Idempotency.NATURAL, f"{_DOC}/createfeed"
        ),
        Capability.READ_PAYMENT: Operation(
            "GET /finances/2024-06-19/transactions", Idempotency.READ, f"{_DOC}/listtransactions"
        ),
        Capability.REFUND: Operation(
            f"POST /feeds/2021-06-30/feeds ({REFUND_FEED})", Idempotency.LOOKUP, f"{_DOC}/createfeed"
        ),
        Capability.CHECK: Operation("GET /feeds/2021-06-30/feeds", Idempotency.READ, f"{_DOC}/getfeeds"),
        Capability.POLL: Operation("GET /orders/2026-01-01/orders", Idempotency.READ, f"{_DOC}/searchorders"),
        Capability.INBOUND: Operation("polled only", Idempotency.READ, f"{_DOC}/createsubscription"),
    },
    # One bucket for all; each operation has a smaller one of its own, and says so with a 429 that did nothing.
    rate_per_s=1.0,
    burst=20,
    # Pre-signed addresses open a document to whoever has them; orders and notifications carry where the buyer lives.
    redact=frozenset(
        {
            "buyer",
            "deliveryaddress",
            "destinationpostalcode",
            "receipthandle",
            "recipient",
            "shipfromaddress",
            "trackingnumber",
            "url",
            "x-amz-credential",
            "x-amz-security-token",
            "x-amz-signature",
        }
    ),
)

TOKEN_URL: Final = "https://api.amazon.com/auth/o2/token"  # noqa: S105 (an address)
XML: Final = "text/xml; charset=UTF-8"

#: How long a new feed may be missing in the list, with a margin (the delay is not published; other lists show nothing of the
#: last two minutes): after that time an absence proves that no feed was made.
FEEDS_SETTLED_S: Final = 1800.0
#: Feeds are kept for ninety days.
FEEDS_KEPT_S: Final = 80 * 86_400.0
#: When a cancel that nobody refused and the order does not show may be sent again. It shows within an hour.
CANCEL_SETTLED_S: Final = 7200.0
#: How late the finances show a refund: 48 hours, and a day's margin. What they do not show then is a person's to find.
FINANCES_LATE: Final = timedelta(hours=72)
#: Our clock and Amazon's differ, and a case is opened before its first call.
_CLOCKS: Final = timedelta(minutes=15)
#: A look is good for so long: a process that was held up in between must not send on the strength of an old one.
_FRESH: Final = timedelta(seconds=45)
_FIRST_LOOK_S: Final = 300.0
_PENDING_WAIT_S: Final = 3600.0
_LOOK_S: Final = 8.0
_NO_FEED: Final = "no feed was made"
_MOST_PAGES: Final = 5
#: Each takes two calls, and their rate is one in 45 seconds.
_MOST_REPORTS: Final = 3
_MOST_REPORT_BYTES: Final = 5_000_000

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """`client_id`, `client_secret`, `refresh_token`: of the private application, authorised by the seller; `seller_id`: the
    merchant token that feeds carry; `marketplace_ids`: whose orders are searched, separated by commas; `base_url`: of the region
    (-na, -eu, -fe); `token_url`: where tokens are fetched.

    `queue_url`, with `aws_access_key_id` and `aws_secret_access_key`: the SQS queue that ORDER_CHANGE and TRANSACTION_UPDATE are sent to
    (empty: orders and finances are searched only, which brings the same news later); `aws_region`: where it is not told by the
    address; `sqs_url`: where SQS is reached instead of at the queue's own host.

    `is_stock_pushed`: "yes" where the owner of the stock sets Amazon's quantities, so that what a cancel adds to them is written over;
    "no": then every cancel waits for a person. `concurrent_refunds`: "no": while any other adjustment feed of the last three days
    could be this refund's, it is not sent, and a person looks; "yes", for shops with more refunds than that: then the shop's
    own records alone say that a first send is the first, as they do everywhere else.
    """

    client_id: str
    client_secret: Secret
    refresh_token: Secret
    seller_id: str
    marketplace_ids: str = "ATVPDKIKX0DER"
    base_url: str = SPEC.base_url
    token_url: str = TOKEN_URL
    queue_url: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: Secret = _NO_SECRET
    aws_region: str = ""
    sqs_url: str = ""
    is_stock_pushed: str = "yes"
    concurrent_refunds: str = "no"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z0-9]{6,20}", self.seller_id, re.ASCII):
            raise ValueError("seller_id is the merchant token: capitals and digits, as in A3TH9S8BH6GOGM")
        if not self.marketplaces:
            raise ValueError("marketplace_ids names no marketplace")
        for name in ("is_stock_pushed", "concurrent_refunds"):
            if getattr(self, name) not in ("yes", "no"):
                raise ValueError(f"{name} is yes or no")
        if self.queue_url and not (self.aws_access_key_id and self.aws_secret_access_key.reveal()):
            raise ValueError("queue_url needs aws_access_key_id and aws_secret_access_key")
        if self.queue_url and not self.region:
            raise ValueError("aws_region is not set, and queue_url does not tell it")

    @property
    def marketplaces(self) -> tuple[str, ...]:
        return tuple(part for raw in self.marketplace_ids.split(",") if (part := raw.strip()))

    @property
    def region(self) -> str:
        told = re.match(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com", self.queue_url)
        return self.aws_region or (told[1] if told else "")


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(credentials: Credentials, wire: Wire, now: Callable[[], datetime] = utc_now) -> Amazon:
    """The connector on a wire. Documents lie elsewhere and are reached by pre-signed addresses, which bear no second
    credential: they have a connection without tokens. `now`: aware.
    """

    def connect(base_url: str, tokens: TokenSource | None = None) -> Http:
        return wire.http(
            platform=SPEC.platform,
            base_url=base_url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            headers={"User-Agent": "refundflow/1 (Language=Python)"},
            tokens=tokens,
            token_header="x-amz-access-token",  # noqa: S106 (a header's name)
            token_format="{}",  # noqa: S106 (how the header is written)
            redact=SPEC.redact,
        )

    # Not rotated by use: every fetch sends the same request.
    tokens = wire.client_credentials(
        connect(credentials.token_url), token_request(credentials), margin_s=120.0, shared_as=SPEC.platform
    )
    queue = None
    if credentials.queue_url:
        host = urlsplit(credentials.queue_url)
        endpoint = credentials.sqs_url or f"{host.scheme}://{host.netloc}"
        queue = Queue(
            http=connect(endpoint),
            queue_url=credentials.queue_url,
            endpoint=endpoint,
            region=credentials.region,
            key_id=credentials.aws_access_key_id,
            secret=credentials.aws_secret_access_key,
        )
    return Amazon(
        http=FreshHttp(connect(credentials.base_url, tokens), tokens),
        documents=connect(credentials.base_url),
        seller_id=credentials.seller_id,
        marketplaces=credentials.marketplaces,
        queue=queue,
        is_stock_pushed=credentials.is_stock_pushed == "yes",
        is_concurrent=credentials.concurrent_refunds == "yes",
        now=now,
    )


@dataclass(frozen=True, slots=True)
class FreshHttp:
    """Fetches a new token where Amazon says that ours is no good, and asks once more: a 403 did nothing."""

    http: Http
    tokens: TokenSource

    def send(self, request: Request) -> Response:
        token = self.tokens.token()
        response = self.http.send(request)
        if response.status != 403 or "token" not in _first_error(response)[2]:
            return response
        self.tokens.forget(token)
        return self.http.send(request)


# ---------------------------------------------------------------------------------------------------------------------
# What Amazon shows


@dataclass(frozen=True, slots=True)
class Item:
    """An order item. `ordered`, `shipped`, `open`: units; `parts`: what we could return of it, in minor units by the names that a
    feed has for them, after discounts and without tax that Amazon collected.
    """

    item_id: str
    sku: str
    title: str
    ordered: int
    shipped: int
    open: int
    parts: Mapping[str, int]
    is_requested: bool
    request_reason: str
    cancelled_by: str

    def worth(self, units: int) -> dict[str, int]:
        """What so many units are worth. Shipping and gift wrap come with the last of them."""
        if units >= self.ordered:
            return dict(self.parts)
        share = {name: self.parts.get(name, 0) * units // self.ordered for name in ("Principal", "Tax")}
        return {name: minor for name, minor in share.items() if minor}


@dataclass(frozen=True, slots=True)
class Order:
    """`total`: what the buyer owes, None where Amazon does not tell it yet; `number`: the seller's own, where it was set;
    `is_on_its_way`: a package is with the carrier, whatever the status says.
    """

    order_id: str
    number: str
    marketplace: str
    status: str
    fulfilled_by: str
    created_at: datetime
    changed_at: datetime
    total: Money | None
    items: tuple[Item, ...]
    is_on_its_way: bool

    @property
    def is_amazons(self) -> bool:
        return self.fulfilled_by != "MERCHANT"

    @property
    def is_pending(self) -> bool:
        return self.status in ("PENDING", "PENDING_AVAILABILITY")

    @property
    def has_shipped(self) -> bool:
        return (
            self.status in ("PARTIALLY_SHIPPED", "SHIPPED")
            or self.is_on_its_way
            or any(item.shipped for item in self.items)
        )

    def worth(self, *, is_shipped_only: bool) -> int:
        return sum(
            sum(item.worth(item.shipped if is_shipped_only else item.ordered).values()) for item in self.items
        )


@dataclass(frozen=True, slots=True)
class Movement:
    """A transaction of an order. `amount`: what went to the buyer (`is_refund`) or came from the buyer, fees left out."""

    reference: str
    is_refund: bool
    amount: Money
    posted: datetime


@dataclass(frozen=True, slots=True)
class Feed:
    feed_id: str
    status: str
    created: datetime
    ended: datetime | None
    report_id: str


@dataclass(frozen=True, slots=True)
class Report:
    """How many messages succeeded by a feed's report, and those that it names as errors: id, code, words."""

    successful: int
    errors: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """A feed and its report, None where there is none or it was not read."""

    feed: Feed
    report: Report | None = None

    def refusal(self, message: str) -> tuple[str, str] | None:
        """Code and words, where this message was refused and nothing of the feed was carried out."""
        if self.report is None or self.feed.status != "DONE" or self.report.successful:
            return None
        return next(((code, told) for number, code, told in self.report.errors if number == message), None)

    @property
    def is_without_effect(self) -> bool:
        """Whether nothing of it was carried out, for certain. FATAL says nothing: part of it may have been."""
        if self.feed.status == "CANCELLED":
            return True
        return (
            self.feed.status == "DONE"
            and self.report is not None
            and self.report.successful == 0
            and len(self.report.errors) > 0
        )

    @property
    def is_unfinished(self) -> bool:
        return self.feed.status not in ("DONE", "FATAL", "CANCELLED")


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class Amazon:
    """OrderPlatform, Refunder and Poller. An order's number is its id, and so is the reference of its one payment."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    documents: Http
    seller_id: str
    marketplaces: tuple[str, ...]
    queue: Queue | None = None
    is_stock_pushed: bool = True
    is_concurrent: bool = False
    now: Callable[[], datetime] = field(default=utc_now)

    def check(self) -> Health:
        match self.http.send(feeds_request("check", REFUND_FEED, None, page=1)):
            case Response(status=200, json={"feeds": list()}):
                return Health(True, "the token is accepted, and feeds may be read")
            case response:
                return Health(False, read_failure(response).reason)

    # ------------------------------------------------------------ orders

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """One call. Amazon cannot be searched by the seller's own numbers: a number is the order's id."""
        match self._order("read_order", ref.order_id or ref.number.lstrip("#")):
            case Order() as order:
                return order_facts(order, is_stock_pushed=self.is_stock_pushed)
            case no:
                return no

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """One call: their share of the item's price after discounts, with tax where the seller collects it."""
        match self._order("quote_lines", order.order_id):
            case Order() as found:
                return quote_of(found, lines)
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Looks at the order, then sends one feed with every item of it. Four calls."""
        begun = self.now()
        match look_first(lambda: self._order("cancel_order", command.order_id), undone=_NO_FEED):
            case Order() as order:
                told = before_cancel(order)
            case no:
                return no
        if told is not None:
            return told
        return self._submit(
            "cancel_order", CANCEL_FEED, order, cancel_feed(order, command, self.seller_id), begun
        )

    def find_cancel_order(self, command: CancelOrder) -> Found:
        """By the order's own status. One that is still open: by the feeds since the case was opened."""
        match self._order("find_cancel_order", command.order_id):
            case Order() as order:
                told = judge_order(order)
            case no:
                return uncertain(no)
        if told is not None:
            return told
        match self._feeds("find_cancel_order", CANCEL_FEED, command):
            case list() as looked:
                return judge_cancel_feeds(looked, command)
            case no:
                return uncertain(no)

    # ------------------------------------------------------------ money

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Two calls: the order, and its transactions (one more per page)."""
        match self._order("read_payment", payment_reference or order_id):
            case Order() as order:
                pass
            case no:
                return no
        match self._money("read_payment", order.order_id):
            case list() as moved:
                return payment_facts(order, moved)
            case no:
                return no

    def refund(self, command: Refund) -> Outcome:
        """Looks first at what went back, and (unless refunds are concurrent) at the feeds since the case was opened: with one that may
        be ours nothing is sent. The finances have the last word: a feed that was made is Pending.
        """
        begun = self.now()
        match look_first(lambda: self._order("refund", command.payment_reference), undone=_NO_FEED):
            case Order() as order:
                pass
            case no:
                return no
        match look_first(lambda: self._money("refund", order.order_id), undone=_NO_FEED):
            case list() as moved:
                told = before_refund(order, moved, command)
            case no:
                return no
        if told is not None:
            return told
        document = refund_feed(order, command, self.seller_id)
        if isinstance(document, Permanent):
            return document
        if not self.is_concurrent:
            match look_first(lambda: self._feeds("refund", REFUND_FEED, command), undone=_NO_FEED):
                case list() as looked:
                    suspect = unexplained(looked, command, begun)
                case no:
                    return no
            if suspect:
                return Unknown(
                    f"not sent: {_names(suspect)} may have been this refund. Look for a refund of order {order.order_id} in "
                    "Seller Central; REFUNDFLOW_AMAZON_CONCURRENT_REFUNDS=yes is for shops with several a day"
                )
        return self._submit("refund", REFUND_FEED, order, document, begun)

    def find_refund(self, command: Refund) -> Found:
        """By the finances; where they show nothing, by the feeds since the case was opened. Two calls, and two per report."""
        if not is_order_id(command.payment_reference):
            return _unknown_reference(command.payment_reference)
        match self._money("find_refund", command.payment_reference):
            case list() as moved:
                told = judge_money(moved, command)
            case no:
                return uncertain(no)
        if told is not None:
            return told
        match self._feeds("find_refund", REFUND_FEED, command):
            case list() as looked:
                return judge_refund_feeds(looked, command, self.now())
            case no:
                return uncertain(no)

    # ------------------------------------------------------------ polling

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """One look at whatever is due: the queue, the orders that changed, the refunds that were posted."""
        at = read_cursor(cursor, now)
        match at.due(now, has_queue=self.queue is not None):
            case "queue" if self.queue is not None:
                found = self.queue.look(at, now)
            case "orders":
                response = self.http.send(search_request(self.marketplaces, at.orders))
                found = read_orders_page(response, at, now)
            case "money":
                found = read_money_page(self.http.send(sweep_request(at.money)), at, now)
            case _:
                return Polled((), at.text)
        if not isinstance(found, Brought):
            return found
        more = found.at.due(now, has_queue=self.queue is not None)
        return Polled(found.events, found.at.text, has_more=bool(more))

    # ------------------------------------------------------------ what several methods share

    def _order(self, operation: str, order_id: str) -> Order | NotFound | NoAnswer:
        if not is_order_id(order_id):
            return _unknown_reference(order_id)
        return read_order(self.http.send(order_request(operation, order_id)), order_id)

    def _money(self, operation: str, order_id: str) -> list[Movement] | NoAnswer:
        """All transactions of an order. Pages may be empty though more follow."""
        told: list[Any] = []
        token = ""
        for _ in range(_MOST_PAGES):
            page = read_transactions(self.http.send(transactions_request(operation, order_id, token)))
            if not isinstance(page, Page):
                return page
            told += page.objects
            token = page.token
            if not token:
                return read_movements(told)
        return Unknown(f"order {order_id} has more transactions than are looked at")

    def _feeds(self, operation: str, feed_type: str, command: Command) -> list[Looked] | NoAnswer:
        """The feeds of a type since the case was opened, the newest first, with the reports of the newest that ended."""
        opened = opened_at(command.step_key)
        since = datetime.fromtimestamp(opened, UTC) - _CLOCKS if opened else None
        feeds: list[Feed] = []
        request = feeds_request(operation, feed_type, since)
        for _ in range(_MOST_PAGES):
            page = read_feeds(self.http.send(request), feed_type)
            if not isinstance(page, Page):
                return page
            feeds += page.objects
            if not page.token:
                break
            request = more_feeds_request(operation, page.token)
        else:
            return Unknown(
                f"more feeds of type {feed_type} were made since the case was opened than are looked at"
            )
        looked: list[Looked] = []
        reports = 0
        for feed in sorted(feeds, key=lambda each: each.created, reverse=True):
            report = None
            if feed.status == "DONE" and feed.report_id and reports < _MOST_REPORTS:
                reports += 1
                report = self._report(operation, feed)
                if isinstance(report, Retryable):
                    return report
            looked.append(Looked(feed, report if isinstance(report, Report) else None))
        return looked

    def _report(self, operation: str, feed: Feed) -> Report | NoAnswer:
        response = self.http.send(document_request(operation, feed.report_id))
        match response.status, response.json:
            case 200, {"url": str(url)}:
                packed = response.json.get("compressionAlgorithm") == "GZIP"
            case _:
                return read_failure(response)
        content = self.documents.send(Request("GET", url, f"amazon.{operation}", total_s=_LOOK_S))
        if content.status != 200:
            return Retryable("unavailable", f"the report of feed {feed.feed_id} could not be fetched")
        return read_report(content.body, is_packed=packed) or Unknown("the report cannot be read")

    def _submit(
        self, operation: str, feed_type: str, order: Order, document: bytes, begun: datetime
    ) -> Outcome:
        """Uploads the document and makes a feed of it. Until the very last call nothing has happened."""
        match look_first(lambda: self._upload(operation, document), undone=_NO_FEED):
            case str() as document_id:
                pass
            case no:
                return no
        if self.now() - begun > _FRESH:
            return Retryable(
                "unavailable", "the look before it took too long: looking again before anything is sent"
            )
        response = self.http.send(create_feed_request(operation, feed_type, order.marketplace, document_id))
        return read_created(response, document_id)

    def _upload(self, operation: str, document: bytes) -> str | NoAnswer:
        response = self.http.send(new_document_request(operation))
        match response.status, response.json:
            case 201, {"feedDocumentId": str(document_id), "url": str(url)} if document_id:
                pass
            case _:
                return read_failure(response)
        answer = self.documents.send(upload_request(operation, url, document))
        if answer.status != 200:
            return Retryable("unavailable", f"the document was not taken, status {answer.status}")
        return document_id


def is_order_id(text: str) -> bool:
    return re.fullmatch(r"[0-9A-Za-z_]{3}-[0-9A-Za-z_]{7}-[0-9A-Za-z_]{7}", text, re.ASCII) is not None


def _unknown_reference(reference: str) -> Permanent:
    return Permanent(
        "unknown_reference", f"{reference!r:.60} is no order of Amazon: 3-7-7, as in 111-1234567-1234567"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Requests

_FEEDS: Final = "/feeds/2021-06-30"
_ORDERS: Final = "/orders/2026-01-01/orders"
_FINANCES: Final = "/finances/2024-06-19/transactions"


def token_request(credentials: Credentials) -> Request:
    """https://developer-docs.amazon.com/sp-api/docs/connecting-to-the-selling-partner-api, read 2026-11-25."""
    return Request(
        "POST",
        "",
        "amazon.token",
        form=[
            ("grant_type", "refresh_token"),
            ("refresh_token", credentials.refresh_token.reveal()),
            ("client_id", credentials.client_id),
            ("client_secret", credentials.client_secret.reveal()),
        ],
    )


def order_request(operation: str, order_id: str) -> Request:
    """Without who bought it and where it goes: nobody here writes to an Amazon buyer, Amazon does."""
    return Request(
        "GET",
        f"{_ORDERS}/{order_id}",
        f"amazon.{operation}",
        params=[("includedData", "PROCEEDS,CANCELLATION,FULFILLMENT,PACKAGES,TAX")],
        total_s=_LOOK_S,
    )


def transactions_request(operation: str, order_id: str, token: str) -> Request:
    """No marketplace is named: seller-fulfilled orders of the US store would be left out."""
    return Request(
        "GET",
        _FINANCES,
        f"amazon.{operation}",
        params=[
            ("relatedIdentifierName", "ORDER_ID"),
            ("relatedIdentifierValue", order_id),
            *([("nextToken", token)] if token else []),
        ],
        total_s=_LOOK_S,
    )


def feeds_request(operation: str, feed_type: str, since: datetime | None, page: int = 100) -> Request:
    return Request(
        "GET",
        f"{_FEEDS}/feeds",
        f"amazon.{operation}",
        params=[
            ("feedTypes", feed_type),
            ("pageSize", str(page)),
            *([("createdSince", stamp(since))] if since else []),
        ],
        total_s=_LOOK_S,
    )


def more_feeds_request(operation: str, token: str) -> Request:
    """The token must stand alone."""
    return Request(
        "GET", f"{_FEEDS}/feeds", f"amazon.{operation}", params=[("nextToken", token)], total_s=_LOOK_S
    )


def new_document_request(operation: str) -> Request:
    return Request(
        "POST", f"{_FEEDS}/documents", f"amazon.{operation}", json={"contentType": XML}, total_s=_LOOK_S
    )


def document_request(operation: str, document_id: str) -> Request:
    return Request(
        "GET", f"{_FEEDS}/documents/{quote(document_id, safe='')}", f"amazon.{operation}", total_s=_LOOK_S
    )


def upload_request(operation: str, url: str, document: bytes) -> Request:
    """The Content-Type is part of what the address was signed for."""
    return Request(
        "PUT", url, f"amazon.{operation}", headers={"Content-Type": XML}, body=document, total_s=_LOOK_S
    )


def create_feed_request(operation: str, feed_type: str, marketplace: str, document_id: str) -> Request:
    return Request(
        "POST",
        f"{_FEEDS}/feeds",
        f"amazon.{operation}",
        json={"feedType": feed_type, "marketplaceIds": [marketplace], "inputFeedDocumentId": document_id},
    )


def search_request(marketplaces: Iterable[str], window: Window) -> Request:
    """The same criteria on every page, as its token demands."""
    return Request(
        "GET",
        _ORDERS,
        "amazon.poll",
        params=[
            ("lastUpdatedAfter", stamp(window.since - _ORDERS_OVERLAP)),
            ("marketplaceIds", ",".join(marketplaces)),
            ("fulfilledBy", "MERCHANT"),
            ("includedData", "CANCELLATION,FULFILLMENT"),
            ("maxResultsPerPage", "100"),
            *([("paginationToken", window.page)] if window.page else []),
        ],
    )


def sweep_request(window: Window) -> Request:
    return Request(
        "GET",
        _FINANCES,
        "amazon.poll",
        params=[
            ("postedAfter", stamp(window.since - _MONEY_OVERLAP)),
            *([("nextToken", window.page)] if window.page else []),
        ],
    )


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def message_id(key: str) -> str:
    """The number under which a report would name our message, from the wire key. Never to be changed while a feed is out."""
    return str(int(hashlib.sha256(key.encode()).hexdigest()[:12], 16) + 1)


_CANCEL_REASONS: Final[Mapping[str, str]] = {
    "customer": "BuyerCanceled",
    "declined": "CannotVerifyInformation",
    "fraud": "RiskAssessmentInformationNotValid",
    "inventory": "NoInventory",
}


def cancel_feed(order: Order, command: CancelOrder, seller_id: str) -> bytes:
    """Every item is listed with its reason. Our reference is the order's number at Amazon where the seller gave it none."""
    reason = _CANCEL_REASONS.get(command.reason, "GeneralAdjustment")
    return _envelope(
        seller_id,
        command.key,
        "OrderAcknowledgement",
        [
            ("AmazonOrderID", order.order_id),
            ("MerchantOrderID", order.number or command.step_key),
            ("StatusCode", "Failure"),
            *(
                ("Item", [("AmazonOrderItemCode", item.item_id), ("CancelReason", reason)])
                for item in order.items
            ),
        ],
    )


#: In the order in which an amount is spread over them.
_PARTS: Final = ("Principal", "Tax", "Shipping", "ShippingTax", "GiftWrap", "GiftWrapTax", "COD", "CODTax")


def refund_feed(order: Order, command: Refund, seller_id: str) -> bytes | Permanent:
    """The amount, spread over what the units were worth: prices first. Only what was shipped can be refunded."""
    wanted = {line.line_id: line.quantity for line in command.lines if not command.is_whole}
    units = {
        item.item_id: min(item.shipped, wanted.get(item.item_id, 0 if wanted else item.shipped))
        for item in order.items
    }
    places = [
        (item, part, minor)
        for part in _PARTS
        for item in order.items
        if (minor := item.worth(units[item.item_id]).get(part, 0)) > 0
    ]
    room = sum(minor for _, _, minor in places)
    if command.amount.minor > room:
        return Permanent(
            "refundable_exceeded",
            f"{command.amount} are to go back, and what was shipped of it was sold for {Money(room, command.amount.currency)}",
        )
    shares = allocate(command.amount.minor, [minor for _, _, minor in places])
    adjusted: list[tuple[str, Any]] = []
    for item in order.items:
        components = [
            ("Component", [("Type", part), ("Amount", Money(share, command.amount.currency))])
            for (of, part, _), share in zip(places, shares, strict=True)
            if of is item and share
        ]
        if components:
            reference = f"{command.step_key}-{len(adjusted) + 1}"
            adjusted.append(
                (
                    "AdjustedItem",
                    [
                        ("AmazonOrderItemCode", item.item_id),
                        ("MerchantAdjustmentItemID", reference),
                        (
                            "AdjustmentReason",
                            "CustomerReturn" if command.reason == "customer" else "GeneralAdjustment",
                        ),
                        ("ItemPriceAdjustments", components),
                    ],
                )
            )
    return _envelope(
        seller_id,
        command.key,
        "OrderAdjustment",
        [("AmazonOrderID", order.order_id), ("ActionType", "Refund"), *adjusted],
    )


def _envelope(seller_id: str, key: str, kind: str, message: list[tuple[str, Any]]) -> bytes:
    """One message, in the order of elements that Amazon's schema has."""
    body = _xml(
        "AmazonEnvelope",
        [
            ("Header", [("DocumentVersion", "1.01"), ("MerchantIdentifier", seller_id)]),
            ("MessageType", kind),
            ("Message", [("MessageID", message_id(key)), (kind, message)]),
        ],
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()


def _xml(name: str, content: Any) -> str:
    match content:
        case Money(currency=currency):
            return f'<{name} currency="{currency}">{content.major}</{name}>'
        case str():
            return f"<{name}>{escape(content)}</{name}>"
        case _:
            return f"<{name}>{''.join(_xml(*each) for each in content)}</{name}>"


# ---------------------------------------------------------------------------------------------------------------------
# Readers


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `token`: of the next one, empty on the last."""

    objects: list[Any]
    token: str


def _text(value: Any, *names: str) -> str:
    """A text of an object, empty where it is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _list(value: Any, *names: str) -> list[Any]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def _dig(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _minor(amount: Any, currency: str) -> int | None:
    """A decimal text or number in minor units; None where it is none, or has more places than the currency."""
    if isinstance(amount, str):
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", amount, re.ASCII):
            return None
    elif isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return None
    exact = Decimal(amount).scaleb(exponent_of(currency)) if re.fullmatch(r"[A-Z]{3}", currency) else None
    if exact is None or not exact.is_finite() or exact.adjusted() > 15 or exact != exact.to_integral_value():
        return None
    return int(exact)


def _money(value: Any) -> Money | None:
    """Orders write amounts as texts."""
    match value:
        case {"amount": str(amount), "currencyCode": str(currency)}:
            minor = _minor(amount, currency)
            return Money(minor, currency) if minor is not None else None
        case _:
            return None


def read_order(response: Response, order_id: str) -> Order | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"order": {"orderId": str(found)} as value} if found == order_id:
            return read_order_object(value) or Unknown(f"order {order_id} cannot be read")
        case 404, {"errors": [{"code": str()}, *_]}:
            return NotFound(0.0, f"no order {order_id} in this account")
        case _:
            return read_failure(response)


def read_order_object(value: Mapping[str, Any]) -> Order | None:
    """An order, or None where something that matters cannot be read."""
    created, changed = _time(_text(value, "createdTime")), _time(_text(value, "lastUpdatedTime"))
    status = _text(value, "fulfillment", "fulfillmentStatus")
    by = _text(value, "fulfillment", "fulfilledBy")
    marketplace = _text(value, "salesChannel", "marketplaceId")
    if created is None or changed is None or status not in _STATUSES or not by or not marketplace:
        return None
    items = [read_item(each, status) for each in _list(value, "orderItems")]
    total = read_total(value)
    if not items or any(item is None for item in items) or isinstance(total, Unknown):
        return None
    aliases = [
        _text(each, "aliasId")
        for each in _list(value, "orderAliases")
        if _text(each, "aliasType") == "SELLER_ORDER_ID"
    ]
    packages = [_text(each, "packageStatus", "status") for each in _list(value, "packages")]
    return Order(
        order_id=_text(value, "orderId"),
        number=aliases[0] if aliases else "",
        marketplace=marketplace,
        status=status,
        fulfilled_by=by,
        created_at=created,
        changed_at=changed,
        total=total,
        items=tuple(item for item in items if item is not None),
        is_on_its_way=any(word not in ("", "PENDING", "CANCELLED") for word in packages),
    )


def read_total(value: Mapping[str, Any]) -> Money | Unknown | None:
    """What the buyer owes; None where Amazon does not tell it, Unknown where it cannot be read."""
    if (grand := _dig(value, "proceeds", "grandTotal")) is not None:
        return _money(grand) or Unknown("the total")
    told = [_dig(item, "proceeds", "proceedsTotal") for item in _list(value, "orderItems")]
    if None in told:
        return None
    sums = [_money(each) for each in told]
    currencies = {each.currency for each in sums if each is not None}
    if None in sums or len(currencies) != 1:
        return Unknown("the total")
    return Money(sum(each.minor for each in sums if each is not None), currencies.pop())


_STATUSES: Final = frozenset(
    {
        "PENDING_AVAILABILITY",
        "PENDING",
        "UNSHIPPED",
        "PARTIALLY_SHIPPED",
        "SHIPPED",
        "CANCELLED",
        "UNFULFILLABLE",
    }
)


def read_item(value: Any, status: str) -> Item | None:
    item_id, ordered = (
        _text(value, "orderItemId"),
        value.get("quantityOrdered") if isinstance(value, dict) else None,
    )
    if not item_id or type(ordered) is not int or ordered < 0:
        return None
    shipped, still_open = (ordered, 0) if status == "SHIPPED" else (0, ordered)
    match value.get("fulfillment"):
        case {"quantityFulfilled": int(shipped), "quantityUnfulfilled": int(still_open)}:
            pass
        case None:
            pass
        case _:
            return None
    parts = read_parts(value, ordered)
    if parts is None or min(shipped, still_open) < 0 or shipped > ordered:
        return None
    cancellation = value.get("cancellation")
    return Item(
        item_id=item_id,
        sku=_text(value, "product", "sellerSku"),
        title=_text(value, "product", "title"),
        ordered=ordered,
        shipped=shipped,
        open=0 if status == "CANCELLED" else still_open,
        parts=parts,
        is_requested=_text(cancellation, "cancellationRequest", "requester") == "BUYER",
        request_reason=_text(cancellation, "cancellationRequest", "cancelReason"),
        cancelled_by=_text(cancellation, "cancellationExecution", "cancelledBy"),
    )


_PART_OF: Final[Mapping[str, str]] = {
    "ITEM": "Principal",
    "SHIPPING": "Shipping",
    "GIFT_WRAP": "GiftWrap",
    "COD_FEE": "COD",
}
_TAX_OF: Final[Mapping[str, str]] = {
    "ITEM": "Tax",
    "SHIPPING": "ShippingTax",
    "GIFT_WRAP": "GiftWrapTax",
    "COD_FEE": "CODTax",
}


def read_parts(value: Mapping[str, Any], ordered: int) -> dict[str, int] | None:
    """What the seller could return of an item, by the feed's names; None where an amount cannot be read.

    Discounts lower the price, or the shipping, that they are for. Tax that Amazon collected is not ours to return.
    """
    is_tax_ours = not any(
        _text(each, "model") == "MARKETPLACE_FACILITATOR" for each in _list(value, "tax", "taxCollections")
    )
    sums: dict[str, int] = {}

    def add(part: str, minor: int) -> None:
        sums[part] = sums.get(part, 0) + minor

    rows = _list(value, "proceeds", "breakdowns")
    for row in rows:
        money, kind = _money(row.get("subtotal") if isinstance(row, dict) else None), _text(row, "type")
        details = [(_text(d, "subtype"), _money(d.get("value"))) for d in _list(row, "detailedBreakdowns")]
        if money is None or any(detail is None for _, detail in details):
            return None
        if kind in _PART_OF:
            add(_PART_OF[kind], money.minor)
        elif kind == "DISCOUNT":
            left = abs(money.minor)
            for subtype, detail in details:
                part = _PART_OF.get(subtype, "Principal")
                assert detail is not None, "checked above"
                add(part, -abs(detail.minor))
                left -= abs(detail.minor)
            add("Principal", -left)
        elif kind == "TAX" and is_tax_ours:
            left = money.minor
            for subtype, detail in details:
                assert detail is not None, "checked above"
                if subtype in _TAX_OF:
                    add(_TAX_OF[subtype], detail.minor)
                    left -= detail.minor
            add("Tax", left)
    match value.get("product"):
        case {"price": {"unitPrice": dict(price)}} if not rows:
            unit = _money(price)
            if unit is None:
                return None
            add("Principal", unit.minor * ordered)
    return {part: minor for part, minor in sums.items() if minor > 0}


def read_transactions(response: Response) -> Page | NoAnswer:
    match response.status, response.json:
        case 200, {"payload": {"transactions": list(objects)} as payload}:
            return Page(objects, _text(payload, "nextToken"))
        case 200, {"payload": {"nextToken": str(token)}}:
            return Page([], token)
        case _:
            return read_failure(response)


def read_movements(transactions: Sequence[Any]) -> list[Movement] | Unknown:
    """Payments and refunds; everything else is passed over. A release is the same money as the transaction that was deferred."""
    known = {_text(each, "transactionId") for each in transactions}
    moved: list[Movement] = []
    for each in transactions:
        if identifiers(each).get("DEFERREDTRANSACTIONID", "-") in known:
            continue
        kind = kind_of(each)
        if kind == "other":
            continue
        reference, posted = _text(each, "transactionId"), _time(_text(each, "postedDate"))
        amount = buyers_part(each)
        if not reference or posted is None or amount is None:
            return Unknown("a transaction of the order cannot be read")
        to_buyer = -amount.minor if kind == "refund" else amount.minor
        if to_buyer > 0:
            moved.append(Movement(reference, kind == "refund", Money(to_buyer, amount.currency), posted))
    return moved


def identifiers(transaction: Any) -> dict[str, str]:
    """What a transaction is related to, by names without marks: `ORDER_ID` here is `OrderId` in notifications."""
    found = {}
    for name in ("relatedIdentifier", "RelatedIdentifier"):
        for each in _list(transaction, f"{name}s"):
            found[_bare(_text(each, f"{name}Name")).upper()] = _text(each, f"{name}Value")
    return found


def kind_of(transaction: Any) -> str:
    """refund | payment | other. Chargebacks and guarantee claims took the buyer's money back as well."""
    kind = _bare(_text(transaction, "transactionType") or _text(transaction, "TransactionType"))
    if kind == "shipment":
        return "payment"
    is_refund = (
        any(word in kind for word in ("refund", "chargeback", "guaranteeclaim")) and "retro" not in kind
    )
    return "refund" if is_refund else "other"


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


#: Heads under which a transaction's parts are gathered by sign.
_GROUPS: Final = frozenset({"sales", "expenses", "refundedsales", "refundedexpenses"})


def buyers_part(transaction: Mapping[str, Any]) -> Money | None:
    """What passed between buyer and seller: all parts but Amazon's fees. Tax that Amazon withheld stands there with both signs."""
    nodes = _nodes(transaction) or [n for item in _list(transaction, "items") for n in _nodes(item)]
    currency = _text(transaction, "totalAmount", "currencyCode")
    amounts = [_part(node, currency) for node in nodes]
    if not nodes or any(amount is None for amount in amounts):
        return None
    return Money(sum(amount for amount in amounts if amount is not None), currency)


def _nodes(value: Any) -> list[Any]:
    """The published example wraps the list once more."""
    return _list(value, "breakdowns") or _list(value, "breakdowns", "breakdowns")


def _part(node: Any, currency: str) -> int | None:
    name, inner = _bare(_text(node, "breakdownType")), _nodes(node)
    if name in _GROUPS and inner:
        amounts = [_part(each, currency) for each in inner]
        return None if None in amounts else sum(amount for amount in amounts if amount is not None)
    if "fee" in name or "commission" in name or name.endswith("chargeback") or name == "expenses":
        return 0
    match node:
        case {"breakdownAmount": {"currencyAmount": amount, "currencyCode": str(told)}} if (
            name and told == currency
        ):
            return _minor(amount, currency)
        case _:
            return None


def read_feeds(response: Response, feed_type: str) -> Page | NoAnswer:
    match response.status, response.json:
        case 200, {"feeds": list(objects)} as body:
            feeds = [read_feed(each) for each in objects if _text(each, "feedType") in ("", feed_type)]
            if any(feed is None for feed in feeds):
                return Unknown("a feed of the list cannot be read")
            return Page(feeds, _text(body, "nextToken"))
        case _:
            return read_failure(response)


def read_feed(value: Any) -> Feed | None:
    feed_id, status = _text(value, "feedId"), _text(value, "processingStatus")
    created = _time(_text(value, "createdTime"))
    if not feed_id or not status or created is None:
        return None
    ended = _time(_text(value, "processingEndTime"))
    return Feed(feed_id, status, created, ended, _text(value, "resultFeedDocumentId"))


def read_report(content: bytes, *, is_packed: bool = False) -> Report | None:
    """A processing report, or None where it is none. One that declares entities is none of Amazon's."""
    try:
        plain = zlib.decompressobj(wbits=31).decompress(content, _MOST_REPORT_BYTES) if is_packed else content
        # Entities are declared behind "<!". In UTF-16 that would look otherwise, and bring NULs; any other encoding that the parser
        # takes spells it alike.
        if b"<!" in plain or b"\0" in plain:
            return None
        root = ElementTree.fromstring(plain)  # noqa: S314 (nothing that declares an entity comes this far)
    except (zlib.error, ElementTree.ParseError, ValueError):
        return None
    report = next(root.iter("ProcessingReport"), None)
    if report is None:
        return None
    successful = report.findtext("ProcessingSummary/MessagesSuccessful", "")
    if not re.fullmatch(r"[0-9]{1,9}", successful, re.ASCII):
        return None
    errors = tuple(
        (
            each.findtext("MessageID", ""),
            each.findtext("ResultMessageCode", ""),
            each.findtext("ResultDescription", ""),
        )
        for each in report.iter("Result")
        if each.findtext("ResultCode") == "Error"
    )
    return Report(int(successful), errors)


def read_created(response: Response, document_id: str) -> Outcome:
    """The answer to the one call that acts. A 5xx may have acted."""
    match response.status, response.json:
        case 202, {"feedId": str(feed_id)} if feed_id:
            return Pending(feed_id, _FIRST_LOOK_S)
        case status, _ if status >= 500:
            return Unknown(f"no clear answer, status {status}; the document is {document_id}")
        case _:
            return read_failure(response)


# ---------------------------------------------------------------------------------------------------------------------
# Orders


def order_facts(order: Order, *, is_stock_pushed: bool) -> OrderFacts | Retryable:
    """No address and no name: Amazon itself tells the buyer, and nobody else may."""
    if order.total is None:
        return Retryable(
            "unavailable",
            f"order {order.order_id} is {order.status}: its amounts are not told yet",
            _PENDING_WAIT_S,
        )
    currency = order.total.currency
    is_charged = order.has_shipped and not order.is_pending
    return OrderFacts(
        platform=SPEC.platform,
        order_id=order.order_id,
        number=order.order_id,
        created_at=order.created_at,
        currency=currency,
        total=order.total,
        email="",
        lines=tuple(_line(item, currency) for item in order.items),
        payments=(
            OrderPayment(
                transaction_id=order.order_id,
                gateway=SPEC.platform,
                provider_reference=order.order_id,
                is_captured=is_charged,
                amount=Money(order.worth(is_shipped_only=is_charged), currency),
            ),
        ),
        cancelled_at=order.changed_at if order.status == "CANCELLED" else None,
        cancels=TakesBack.CALL,
        cancels_lines=TakesBack.PERSON,
        cancel_refusal=cancel_refusal(order),
        is_restock_carried=False,
        records_refunds=False,
        releases_authorisations=True,
        restocks_itself=not is_stock_pushed,
    )


def _line(item: Item, currency: str) -> OrderLine:
    """Units that left the order before shipment are gone from it. Refunds do not say which units they were for."""
    quantity = min(item.ordered, item.shipped + item.open) if item.cancelled_by else item.ordered
    unit = Money(item.parts.get("Principal", 0) // item.ordered if item.ordered else 0, currency)
    return OrderLine(
        item.item_id, item.sku, item.title, quantity, min(item.open, quantity - item.shipped), quantity, unit
    )


def cancel_refusal(order: Order) -> str:
    """Why Amazon, or our own care, would not cancel the order now, in words for people; empty where it would."""
    if order.status in ("CANCELLED", "SHIPPED", "PARTIALLY_SHIPPED"):
        return ""  # nothing to refuse; or a return; or line by line, by a person
    if order.is_amazons:
        return "Amazon fulfils it, and only the buyer or Amazon can cancel it"
    if order.is_pending:
        return "it is still PENDING at Amazon, and can be cancelled only once it is UNSHIPPED"
    if order.status != "UNSHIPPED":
        return f"it is {order.status} at Amazon"
    if order.has_shipped:
        return "a package of it is with the carrier already: a cancel would make Amazon refund all of it"
    return ""


def quote_of(order: Order, lines: tuple[LineQuantity, ...]) -> Money | Permanent | Retryable:
    if order.total is None:
        return Retryable(
            "unavailable", f"order {order.order_id} does not tell its amounts yet", _PENDING_WAIT_S
        )
    items = {item.item_id: item for item in order.items}
    worth = 0
    for line in lines:
        item = items.get(line.line_id)
        if item is None or not 0 < line.quantity <= item.ordered:
            return Permanent(
                "unknown_line", f"order {order.order_id} has no {line.quantity} of {line.line_id!r:.40}"
            )
        worth += sum(item.worth(line.quantity).values())
    return Money(worth, order.total.currency)


def before_cancel(order: Order) -> Outcome | None:
    """What the look before a cancel says; None where nothing speaks against it."""
    told = judge_order(order)
    if told is not None:
        return told
    if order.is_amazons:
        return Permanent("fulfilled_by_amazon", cancel_refusal(order))
    if order.is_pending:
        return Retryable("unavailable", cancel_refusal(order), _PENDING_WAIT_S)
    if order.status != "UNSHIPPED":
        return Permanent("not_cancellable", cancel_refusal(order))
    return None


def judge_order(order: Order) -> Done | AlreadyDone | Permanent | None:
    """What an order's own status says of its cancel; None where it is still open."""
    if order.status == "CANCELLED":
        by = {item.cancelled_by for item in order.items} - {""}
        detail = f"cancelled by {', '.join(sorted(by)) or 'an unnamed party'}"
        return Done(order.order_id, detail) if by == {"MERCHANT"} else AlreadyDone(order.order_id, detail)
    if order.has_shipped:
        return Permanent(
            "shipped_meanwhile",
            "units of it were shipped; should a cancel of ours be under way all the same, Amazon refunds the whole order",
        )
    return None


def judge_cancel_feeds(looked: Sequence[Looked], command: CancelOrder) -> Found:
    """The order is still open. A feed that hangs is waited for, whosever it is: it is not to be sent beside it."""
    for each in looked:
        if refusal := each.refusal(message_id(command.key)):
            return Permanent(refusal[0] or "feed_error", f"feed {each.feed.feed_id}: {refusal[1]}")
    working = [each for each in looked if each.is_unfinished]
    if working:
        return Unknown(f"{_names(working)} may be this cancel, and Amazon still works on it")
    if not looked:
        return NotFound(
            FEEDS_SETTLED_S, "no feed was made since the case was opened, and the order is still open"
        )
    return NotFound(CANCEL_SETTLED_S, "no feed is at work any more, and the order is still open")


# ---------------------------------------------------------------------------------------------------------------------
# Money


def payment_facts(order: Order, moved: Sequence[Movement]) -> PaymentFacts | NoAnswer:
    """The buyer is charged when the seller confirms the shipment. `captured`: as the finances tell it, and not more than we could
    return: tax that Amazon collected goes back without us. Until they show it: what was shipped was sold for.
    """
    if order.total is None:
        return Retryable(
            "unavailable", f"order {order.order_id} does not tell its amounts yet", _PENDING_WAIT_S
        )
    currency = order.total.currency
    if any(m.amount.currency != currency for m in moved):
        return Unknown("a transaction is in another currency than its order")
    posted = sum(m.amount.minor for m in moved if not m.is_refund)
    shipped = order.worth(is_shipped_only=True)
    captured = min(posted, shipped or order.worth(is_shipped_only=False)) if posted else shipped
    if captured:
        state = PaymentState.CAPTURED
    elif order.status == "CANCELLED":
        state = PaymentState.VOIDED
    elif order.status == "UNSHIPPED":
        state = PaymentState.AUTHORISED
    else:
        state = PaymentState.NOT_PAID
    held = order.worth(is_shipped_only=False) if state is PaymentState.AUTHORISED else 0
    return PaymentFacts(
        platform=SPEC.platform,
        reference=order.order_id,
        state=state,
        authorised=Money(held, currency),
        captured=Money(captured, currency),
        refunds=tuple(
            RefundFact(m.reference, m.amount, RefundStatus.SUCCEEDED) for m in moved if m.is_refund
        ),
        gateway=SPEC.platform,
        order_number=order.order_id,
        refund_refusal="Amazon fulfils this order, and returns its money itself" if order.is_amazons else "",
    )


def before_refund(order: Order, moved: Sequence[Movement], command: Refund) -> Outcome | None:
    """What the look before a refund says; None where nothing speaks against it."""
    facts = payment_facts(order, moved)
    if not isinstance(facts, PaymentFacts):
        return Retryable("unavailable", facts.reason)
    if facts.captured.currency != command.amount.currency:
        return Permanent("currency_mismatch", f"order {order.order_id} was paid in {facts.captured.currency}")
    match judge_money(moved, command):
        case Done(reference=reference):
            return AlreadyDone(reference, "the finances show a refund of that amount already")
        case Permanent() as mismatch:
            return mismatch
        case None:
            pass
    if order.is_amazons:
        return Permanent("fulfilled_by_amazon", facts.refund_refusal)
    if facts.state is not PaymentState.CAPTURED:
        return Permanent(
            "not_charged", f"order {order.order_id} is {order.status}: the buyer was not charged"
        )
    if command.amount.minor > facts.captured.minor - facts.refunded:
        return Permanent(
            "refundable_exceeded",
            f"{command.amount} are to go back; of {facts.captured}, {Money(facts.refunded, command.amount.currency)} went back before",
        )
    return None


def judge_money(moved: Sequence[Movement], command: Refund) -> Done | Permanent | None:
    """What the finances say of our refund; None where nothing went back since the case was opened."""
    since = datetime.fromtimestamp(opened_at(command.step_key), UTC) - _CLOCKS
    recent = [m for m in moved if m.is_refund and m.posted >= since]
    ours = [m for m in recent if m.amount == command.amount]
    if ours:
        others = ", ".join(f"{m.amount} as {m.reference}" for m in recent if m is not ours[0])
        # A person must see it when there are two, whichever way that came about.
        return Done(ours[0].reference, f"also refunded: {others}" if others else "")
    if recent:
        told = ", ".join(f"{m.amount} as {m.reference}" for m in recent)
        return Permanent("amount_mismatch", f"asked for {command.amount}, the finances show {told}")
    return None


def judge_refund_feeds(looked: Sequence[Looked], command: Refund, now: datetime) -> Found:
    """The finances show no refund yet. Only where no feed can be ours is that a proof that nothing was sent."""
    for each in looked:
        if refusal := each.refusal(message_id(command.key)):
            return Permanent(refusal[0] or "feed_error", f"feed {each.feed.feed_id}: {refusal[1]}")
    suspect = [each for each in looked if not each.is_without_effect]
    if not suspect:
        return NotFound(
            FEEDS_SETTLED_S,
            "no adjustment feed since the case was opened could be ours",
            conclusive_until_s=FEEDS_KEPT_S,
        )
    if all(is_overdue(each, now) for each in suspect):
        hours = FINANCES_LATE.total_seconds() / 3600
        return NotFound(
            None,
            f"{_names(suspect)} ended more than {hours:.0f} hours ago, and the finances show no refund: a person looks in Seller Central",
        )
    return Unknown(f"{_names(suspect)} may be ours, and the finances do not show a refund yet")


def unexplained(looked: Sequence[Looked], command: Refund, now: datetime) -> list[Looked]:
    """The feeds that may have been this refund, before it is first sent. One that is long over would show in the finances."""
    ours = message_id(command.key)
    return [
        each
        for each in looked
        if not each.is_without_effect and not is_overdue(each, now) and each.refusal(ours) is None
    ]


def is_overdue(looked: Looked, now: datetime) -> bool:
    return (
        not looked.is_unfinished and looked.feed.ended is not None and now - looked.feed.ended > FINANCES_LATE
    )


def _names(looked: Sequence[Looked]) -> str:
    told = ", ".join(f"{each.feed.feed_id} ({each.feed.status})" for each in looked[:5])
    return f"feed {told}" + (f" and {len(looked) - 5} more" if len(looked) > 5 else "")


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


def _first_error(response: Response) -> tuple[str, str, str]:
    """Code, message and details; empty where the answer holds no error of Amazon's."""
    match response.json:
        case {"errors": [{"code": str(code)} as error, *_]}:
            return code, _text(error, "message"), _text(error, "details")
        case {"__type": str(kind)} as error:
            return kind.rpartition("#")[2], _text(error, "message") or _text(error, "Message"), ""
        case _:
            return "", "", ""


def read_failure(response: Response) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for. Of calls that change nothing: see `read_created` for the one that does."""
    code, message, details = _first_error(response)
    told = f"{code}: {message}" + (f" ({details})" if details else "")
    match ERRORS.get(response.status, ""):
        case "unauthorised":
            return Retryable(
                "unauthorised",
                f"Amazon refuses us ({told if code else response.status}): check the REFUNDFLOW_AMAZON_… credentials and the "
                "application's roles, and whether the seller's authorisation of it (a year) has ended",
            )
        case "throttled":
            return Retryable("throttled", "Amazon is asked too often", throttled_s(response))
        case "unavailable":
            return Retryable(
                "unavailable", f"Amazon is not available, status {response.status}", response.retry_after_s
            )
        case "no" if code:
            return Permanent(code, told)
        case _:
            return Unknown(f"no clear answer, status {response.status}" + (f": {told}" if code else ""))


#: What a status means. A refusal must say why, or it is none of Amazon's.
ERRORS: Final[Mapping[int, str]] = {
    400: "no",
    401: "unauthorised",
    403: "unauthorised",
    404: "no",
    413: "no",
    415: "no",
    429: "throttled",
    500: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


def throttled_s(response: Response) -> float | None:
    """The vendor's hint, or the time that the operation's own rate gives back one call in."""
    rate = response.headers.get("x-amzn-ratelimit-limit", "")
    if response.retry_after_s is not None or not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", rate, re.ASCII):
        return response.retry_after_s
    return min(1 / float(rate), 900.0) if float(rate) else None


# ---------------------------------------------------------------------------------------------------------------------
# Polling

CANCEL_REQUESTED: Final = "order.cancel_requested"
CANCELLED: Final = "order.cancelled"
REFUNDED: Final = "refund.posted"
UNREADABLE: Final = "notification.unreadable"

_ORDERS_EVERY: Final = timedelta(minutes=4)  # one search in three minutes is allowed
_MONEY_EVERY: Final = timedelta(hours=6)
_QUEUE_EVERY: Final = timedelta(seconds=10)
_ORDERS_OVERLAP: Final = timedelta(minutes=30)
_MONEY_OVERLAP: Final = timedelta(days=3)
#: Lists show nothing newer than this.
_LISTS_LATE: Final = timedelta(minutes=2)
_LONG_AGO: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Window:
    """How far a list was read. `since`: from where, the overlap not counted; `page`: where it goes on; `until`: where the next
    one begins once this one is read; `looked`: when the last page was.
    """

    since: datetime
    page: str = ""
    until: datetime | None = None
    looked: datetime | None = None

    def is_due(self, now: datetime, every: timedelta) -> bool:
        return bool(self.page) or self.looked is None or now - self.looked >= every

    def after(self, token: str, until: datetime, now: datetime) -> Window:
        """Nothing moves before its last page was read, and nothing moves backward."""
        until = self.until or until
        if token:
            return replace(self, page=token, until=until)
        return Window(max(self.since, until), looked=now)


@dataclass(frozen=True, slots=True)
class Cursor:
    """`handles`: messages of the queue whose news was handed over with this cursor; deleted by the next look, so that none is deleted
    before it was stored.
    """

    orders: Window
    money: Window
    handles: tuple[str, ...] = ()
    drained: datetime | None = None

    def due(self, now: datetime, *, has_queue: bool) -> str:
        if has_queue and (self.handles or self.drained is None or now - self.drained >= _QUEUE_EVERY):
            return "queue"
        if self.orders.is_due(now, _ORDERS_EVERY):
            return "orders"
        return "money" if self.money.is_due(now, _MONEY_EVERY) else ""

    @property
    def text(self) -> str:
        def plain(value: Any) -> str:
            return value.isoformat() if isinstance(value, datetime) else str(value)

        return json.dumps(asdict(self), default=plain, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Brought:
    """What one look found, and where the next one begins."""

    events: tuple[PolledEvent, ...]
    at: Cursor


def read_cursor(cursor: str, now: datetime) -> Cursor:
    """Where to begin. What is no cursor of ours begins a day back, like none at all."""
    told = parse_json(cursor.encode()) if cursor else None
    handles = tuple(each for each in _list(told, "handles") if isinstance(each, str))
    return Cursor(
        orders=_window(told, "orders", now),
        money=_window(told, "money", now),
        handles=handles,
        drained=_time(_text(told, "drained")),
    )


def _window(told: Any, name: str, now: datetime) -> Window:
    since = _time(_text(told, name, "since"))
    if since is None or since > now:
        return Window(now - timedelta(days=1))
    page = _text(told, name, "page")
    if not page:
        since = max(since, now - _LONG_AGO)
    return Window(since, page, _time(_text(told, name, "until")), _time(_text(told, name, "looked")))


def read_orders_page(response: Response, at: Cursor, now: datetime) -> Brought | NoAnswer:
    """A page's token is good for a day: one that is refused begins the window anew."""
    match response.status, response.json:
        case 200, {"orders": list(orders)} as body:
            pass
        case 400, _ if at.orders.page:
            return Brought((), replace(at, orders=Window(at.orders.since)))
        case _:
            return read_failure(response)
    events: list[PolledEvent] = []
    for value in orders:
        order_id = _text(value, "orderId")
        if not is_order_id(order_id):
            return Unknown("an order of the list cannot be read")
        status = _text(value, "fulfillment", "fulfillmentStatus")
        asked = [
            (_text(item, "orderItemId"), item.get("quantityOrdered"))
            for item in _list(value, "orderItems")
            if _text(item, "cancellation", "cancellationRequest", "requester") == "BUYER"
        ]
        reasons = [
            _text(item, "cancellation", "cancellationRequest", "cancelReason")
            for item in _list(value, "orderItems")
        ]
        is_all = len(asked) == len(_list(value, "orderItems"))
        event = order_event(order_id, status, asked, is_all, next(filter(None, reasons), ""))
        events += [event] if event is not None else []
    until = _time(_text(body, "lastUpdatedBefore")) or now - _LISTS_LATE
    window = at.orders.after(_text(body, "pagination", "nextToken"), min(until, now), now)
    return Brought(tuple(events), replace(at, orders=window))


def order_event(
    order_id: str, status: str, asked: Sequence[tuple[str, Any]], is_all: bool, reason: str
) -> PolledEvent | None:
    """What an order's state is news of. `asked`: items that the buyer wants cancelled, and their units. The same request, or
    cancel, has one id, whichever way it was heard of.
    """
    state = _bare(status)
    if state in ("cancelled", "canceled"):
        return _event(f"cancelled:{order_id}", CANCELLED, {"order_id": order_id})
    if not asked or state == "shipped":
        return None
    lines = [] if is_all else sorted([item, units] for item, units in asked)
    which = "" if is_all else ":" + "+".join(item for item, _ in lines)
    body = {"order_id": order_id, "lines": lines, "reason": reason}
    return _event(f"cancel-requested:{order_id}{which}", CANCEL_REQUESTED, body)


def read_money_page(response: Response, at: Cursor, now: datetime) -> Brought | NoAnswer:
    page = read_transactions(response)
    if isinstance(page, Permanent) and at.money.page:
        return Brought((), replace(at, money=Window(at.money.since)))
    if not isinstance(page, Page):
        return page
    events = [
        event
        for each in page.objects
        if kind_of(each) == "refund"
        and (
            event := refund_event(
                identifiers(each).get("ORDERID", ""),
                _text(each, "postedDate"),
                _dig(each, "totalAmount", "currencyAmount"),
            )
        )
    ]
    window = at.money.after(page.token, now - _LISTS_LATE, now)
    return Brought(tuple(events), replace(at, money=window))


def refund_event(order_id: str, posted: str, amount: Any) -> PolledEvent | None:
    """A notification does not name the transaction: order, time and amount do. None where it is about no order."""
    if not is_order_id(order_id):
        return None
    at = _time(posted)
    moment = str(int(at.timestamp())) if at is not None else posted
    told = f"{Decimal(amount).normalize():f}" if type(amount) in (int, Decimal) else str(amount)
    return _event(f"refund:{order_id}:{moment}:{told}", REFUNDED, {"order_id": order_id})


def _event(source_event_id: str, topic: str, body: Mapping[str, Any]) -> PolledEvent:
    return PolledEvent(source_event_id, topic, json.dumps(body, separators=(",", ":"), default=str).encode())


# ---------------------------------------------------------------------------------------------------------------------
# The queue


@dataclass(frozen=True, slots=True)
class Queue:
    """The SQS queue that notifications are sent to. Who may write to it is AWS's to say: its messages carry no signature."""

    http: Http
    queue_url: str
    endpoint: str
    region: str
    key_id: str
    secret: Secret = field(repr=False)

    def look(self, at: Cursor, now: datetime) -> Brought | NoAnswer:
        """Deletes what the last look brought, then takes up to ten more. A handle that is too old is passed over: its message comes
        again, and the inbox knows it.
        """
        for handle in at.handles:
            refused = read_deleted(self._send("DeleteMessage", {"ReceiptHandle": handle}, now))
            if refused is not None:
                return refused
        wanted = {"MaxNumberOfMessages": 10, "VisibilityTimeout": 600, "WaitTimeSeconds": 0}
        messages = read_messages(self._send("ReceiveMessage", wanted, now))
        if not isinstance(messages, list):
            return messages
        events = [event for text, _, name in messages if (event := read_notification(text, name)) is not None]
        handles = tuple(handle for _, handle, _ in messages)
        return Brought(tuple(events), replace(at, handles=handles, drained=None if handles else now))

    def _send(self, action: str, wanted: Mapping[str, Any], now: datetime) -> Response:
        return self.http.send(
            queue_request(
                action,
                {"QueueUrl": self.queue_url, **wanted},
                endpoint=self.endpoint,
                region=self.region,
                key_id=self.key_id,
                secret=self.secret.reveal(),
                at=now,
            )
        )


def queue_request(
    action: str,
    wanted: Mapping[str, Any],
    *,
    endpoint: str,
    region: str,
    key_id: str,
    secret: str,
    at: datetime,
) -> Request:
    """A call of SQS in AWS JSON 1.0, signed. The body is what was signed, byte for byte."""
    body = json.dumps(wanted, separators=(",", ":")).encode()
    where = urlsplit(endpoint)
    date = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "Host": where.netloc,
        "X-Amz-Date": date,
        "X-Amz-Target": f"AmazonSQS.{action}",
    }
    signature = sign_v4(
        secret,
        method="POST",
        path=f"{where.path.rstrip('/')}/",
        headers=headers,
        body=body,
        date=date,
        region=region,
        service="sqs",
    )
    scope = f"{date[:8]}/{region}/sqs/aws4_request"
    names = ";".join(sorted(name.lower() for name in headers))
    return Request(
        "POST",
        "/",
        "amazon.poll",
        headers={
            **headers,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}",
        },
        body=body,
    )


def sign_v4(
    secret: str,
    *,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    date: str,
    region: str,
    service: str,
    query: str = "",
) -> str:
    """AWS Signature Version 4 in hex, over all of `headers`. `date`: as in X-Amz-Date; `query`: canonical already.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, read 2026-11-25.
    """
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    canonical = "\n".join(
        [
            method,
            quote(path, safe="/-_.~"),
            query,
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


def read_deleted(response: Response) -> NoAnswer | None:
    if response.status == 200 or "ReceiptHandle" in _first_error(response)[0]:
        return None
    return read_failure(response)


def read_messages(response: Response) -> list[tuple[str, str, str]] | NoAnswer:
    """Body, receipt handle and id of each. An empty queue answers `{}`, in the one type that says that it was SQS."""
    is_aws = response.headers.get("content-type", "").startswith("application/x-amz-json")
    if response.status != 200 or not is_aws or not isinstance(response.json, dict):
        return read_failure(response)
    found: list[tuple[str, str, str]] = []
    for each in _list(response.json, "Messages"):
        handle, name = _text(each, "ReceiptHandle"), _text(each, "MessageId")
        if not handle or not name:
            return Unknown("a message of the queue cannot be read")
        found.append((_text(each, "Body"), handle, name))
    return found


def read_notification(text: str, name: str) -> PolledEvent | None:
    """The news in a notification; None where it asks nothing of us. One that cannot be read is handed on as it is: a person sees it,
    and it does not stop the queue. `name`: the message's own.
    """
    told = parse_json(text.encode())
    match _text(told, "NotificationType") or _text(told, "notificationType"):
        case "ORDER_CHANGE":
            change = _dig(told, "Payload", "OrderChangeNotification")
            order_id, items = _text(change, "AmazonOrderId"), _list(change, "Summary", "OrderItems")
            status = _text(change, "Summary", "OrderStatus")
            if is_order_id(order_id) and status:
                if _text(change, "Summary", "FulfillmentType") == "AFN":
                    return None  # Amazon's own to fulfil, to cancel and to refund
                asked = [
                    (_text(item, "OrderItemId"), item.get("Quantity"))
                    for item in items
                    if isinstance(item, dict) and item.get("IsBuyerRequestedCancel") is True
                ]
                return order_event(order_id, status, asked, len(asked) == len(items), "")
        case "TRANSACTION_UPDATE":
            change = _dig(told, "Payload", "TransactionUpdateNotification")
            if isinstance(change, dict):
                if kind_of(change) != "refund":
                    return None
                return refund_event(
                    identifiers(change).get("ORDERID", ""),
                    _text(change, "PostedDate"),
                    _dig(change, "TotalAmount", "CurrencyAmount"),
                )
        case "FEED_PROCESSING_FINISHED":
            return None  # which step it was for is not told; steps look by themselves
    return PolledEvent(f"unreadable:{name}", UNREADABLE, text.encode())


# ---------------------------------------------------------------------------------------------------------------------
# What was polled


@dataclass(frozen=True, slots=True)
class AmazonInbound:
    """Reads what polling found. Amazon has no webhooks: whoever delivers something by HTTP is somebody else."""

    platform: ClassVar[str] = SPEC.platform

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        return Refused("Amazon delivers nothing by HTTP: it is polled")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError for a notification that said nothing we could read."""
        told = parse_json(body)
        if topic not in (CANCEL_REQUESTED, CANCELLED, REFUNDED):
            if topic == UNREADABLE:
                raise MalformedError("Payload", "is no notification that we can read")
            return Irrelevant(f"{topic:.60} asks nothing of us")
        order_id = _text(told, "order_id")
        if not is_order_id(order_id):
            raise MalformedError("order_id", "is no order of Amazon")
        order = OrderRef(SPEC.platform, order_id)
        if topic == CANCELLED:
            return OrderCancelledElsewhere(order)
        if topic == REFUNDED:
            return PaymentRefundsChanged(SPEC.platform, order_id, order)
        return CancellationRequested(
            order,
            lines=read_lines(told),
            requested_by="amazon buyer",
            note=_text(told, "reason"),
        )


def read_lines(told: Any) -> tuple[LineQuantity, ...]:
    """The units that the buyer named. Raises MalformedError: half a request is never taken for the whole order."""
    lines = []
    for number, each in enumerate(_list(told, "lines")):
        match each:
            case [str(item_id), int(units)] if item_id and units > 0:
                lines.append(LineQuantity(item_id, units))
            case _:
                raise MalformedError(f"lines[{number}]", "is no item with a number of units")
    return tuple(lines)
