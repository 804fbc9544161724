"""Etsy: a sales channel that is only read. Orders ("receipts"), what was paid for them and what went back; a person acts.

Open API v3 (info.version 3.0.0, description of 2026-08-17; https://developers.etsy.com/documentation/reference, read 2026-11-25).
Authorised by an OAuth token that is refreshed every hour, with the scope `transactions_r`; the refresh token is replaced with
every use. Beside it each call carries the application's key, `keystring:shared secret`.

No call cancels an order and none returns money: a person does both in Shop Manager, and Etsy pays the buyer. So nothing here
has an effect, and every payment says that its money is not to be returned by any other way.

Quirks
- `status` has two more words than its own description lists, and was seen capitalised: compared without regard to case.
- Money objects name their own divisor, which may be any; adjustments are bare numbers of minor units. Both times of an object
  have an old and a new name.
- An adjustment that is OPEN already says `is_success`; only REFUNDED is a yes, and even that can turn to a failure later. An unpaid
  order is cancelled without any adjustment: money is told by adjustments alone, never by the order's status.
- `order.canceled` comes when a seller begins to cancel. Until the refund shows, the payment asks to be read again later, or a
  person would be told to give back what Etsy is giving back already.
- Cancels and refunds are not found by `min_last_modified` (github.com/etsy/open-api, issue 604), webhooks are for approved
  applications only, and no webhook tells of a refund. Three lists are polled instead: see `Cursor`.
- A refund before the goods leave never reaches the ledger. Refund entries lead to their payment only by the adjustments in them.
- Tax, discounts and shipping are told for the whole order only: single lines have a price where there is no tax and no discount.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any, ClassVar, Final

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
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.money import Money, exponent_of
from refundflow.domain.outcomes import NotFound, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, is_fresh, split_secrets

_DOC: Final = "https://developers.etsy.com/documentation/reference#operation"
_SHOP: Final = "/v3/application/shops/{shop_id}"

SPEC: Final = Spec(
    platform="etsy",
    api_version="v3",
    base_url="https://openapi.etsy.com",
    operations={
        Capability.READ_ORDER: Operation(
            f"GET {_SHOP}/receipts/{{receipt_id}}", Idempotency.READ, f"{_DOC}/getShopReceipt"
        ),
        Capability.QUOTE_LINES: Operation(
            f"GET {_SHOP}/receipts/{{receipt_id}}", Idempotency.READ, f"{_DOC}/getShopReceipt"
        ),
        Capability.READ_PAYMENT: Operation(
            f"GET {_SHOP}/receipts/{{receipt_id}}/payments",
            Idempotency.READ,
            f"{_DOC}/getShopPaymentByReceiptId",
        ),
        Capability.CHECK: Operation(f"GET {_SHOP}/receipts", Idempotency.READ, f"{_DOC}/getShopReceipts"),
        Capability.POLL: Operation(
            f"GET {_SHOP}/receipts, GET {_SHOP}/payment-account/ledger-entries",
            Idempotency.READ,
            f"{_DOC}/getShopPaymentAccountLedgerEntries",
        ),
        Capability.INBOUND: Operation(
            "webhook-signature",
            Idempotency.READ,
            "https://developers.etsy.com/documentation/essentials/webhooks",
        ),
    },
    # 10 a second and 10,000 a day for one application, which may serve other shops and other programs as well.
    rate_per_s=4.0,
    burst=6,
    # Receipts carry the buyer's address and whatever buyer and seller wrote to each other.
    redact=frozenset(
        {
            "first_line",
            "gift_message",
            "gift_sender",
            "message_from_buyer",
            "message_from_payment",
            "message_from_seller",
            "note_from_issuer",
            "second_line",
            "state",
            "variations",
            "webhook-signature",
        }
    ),
    # Up to five of them in a row end within a step's lease.
    read_s=12.0,
)

SHOP_MANAGER: Final = "https://www.etsy.com/your/orders/sold?order_id="

#: How long a cancelled order's refund may take to show before a person is asked to look; nobody publishes a time.
_REFUND_SHOWS_S: Final = 2 * 3600
_FIRST_LOOK_S: Final = 60.0
#: After the daily limit: it counts the last 24 hours, so that something is free again soon.
_DAY_USED_UP_S: Final = 3600.0

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """One shop, and the application that is connected to it.

    `keystring`, `shared_secret`: of the application ("Your Apps"); `refresh_token`: as the person who connected the shop got it;
    replaced with every use, the newest is kept by us. `shop_id`: the shop's number. `webhook_secret`: `whsec_…` of the endpoint in
    the webhook portal, several with commas between them while one is replaced; empty: no webhooks, polling alone.

    Raises ValueError for a number or a key of the wrong form.
    """

    keystring: str
    shared_secret: Secret
    refresh_token: Secret
    shop_id: str
    webhook_secret: Secret = _NO_SECRET
    base_url: str = SPEC.base_url
    token_url: str = "https://openapi.etsy.com/v3/public/oauth/token"  # noqa: S105 (an address)

    def __post_init__(self) -> None:
        if not is_id(self.shop_id):
            raise ValueError(f"shop_id is the shop's number, not {self.shop_id!r:.40}")
        if not re.fullmatch(r"[\x21-\x39\x3b-\x7e]{1,200}", self.keystring):
            raise ValueError("keystring is the application's key without the shared secret")
        secrets = split_secrets(self.webhook_secret.reveal())
        if len(signing_keys(secrets)) != len(secrets):
            raise ValueError("webhook_secret is not of the form whsec_ and base64")

    @property
    def api_key(self) -> str:
        """What `x-api-key` carries."""
        return f"{self.keystring}:{self.shared_secret.reveal()}"


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(credentials: Credentials, wire: Wire, now: Callable[[], datetime] = utc_now) -> Etsy:
    """The connector on a wire. `now`: aware; how long ago an order was cancelled is counted from it."""
    limits: dict[str, Any] = {
        "platform": SPEC.platform,
        "rate_per_s": SPEC.rate_per_s,
        "burst": SPEC.burst,
        "connect_s": SPEC.connect_s,
        "read_s": SPEC.read_s,
        "headers": {"x-api-key": credentials.api_key},
        "redact": SPEC.redact,
    }
    tokens = wire.refreshed_tokens(
        wire.http(base_url=credentials.token_url, **limits),
        lambda refresh_token: token_request(credentials, refresh_token),
        shared_as=SPEC.platform,
        refresh_token=credentials.refresh_token.reveal(),
    )
    return Etsy(wire.http(base_url=credentials.base_url, tokens=tokens, **limits), credentials.shop_id, now)


# ---------------------------------------------------------------------------------------------------------------------
# What Etsy shows


@dataclass(frozen=True, slots=True)
class Line:
    """A transaction of a receipt. `sku`: the shop's own, else listing and product; `unit`: before any discount of the order."""

    line_id: str
    sku: str
    title: str
    quantity: int
    is_shipped: bool
    unit: Money


@dataclass(frozen=True, slots=True)
class Receipt:
    """An order. `status`: in lower case; `is_plain`: no tax and no discount on top of the lines' prices."""

    receipt_id: str
    status: str
    created_at: datetime
    updated_at: datetime
    total: Money
    is_paid: bool
    lines: tuple[Line, ...]
    is_plain: bool
    payment_method: str = ""
    email: str = ""
    name: str = ""

    @property
    def is_cancelled(self) -> bool:
        return self.status in CANCELLED


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Money that went back, or was to. `word`: Etsy's for how it stands; `lines`: minor units by transaction, where it tells."""

    reference: str
    word: str
    status: RefundStatus
    amount: Money
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment through Etsy. `left`: what Etsy says is left of it after all adjustments, where it says so."""

    payment_id: str
    receipt_id: str
    gross: Money
    left: Money | None
    adjustments: tuple[Adjustment, ...]

    @property
    def unlisted(self) -> int:
        """Minor units that Etsy says are gone beyond the adjustments that it lists, those that failed too."""
        if self.left is None:
            return 0
        return max(0, self.gross.minor - self.left.minor - sum(a.amount.minor for a in self.adjustments))

    @property
    def living(self) -> int:
        """Minor units that went back or are on their way."""
        listed = sum(a.amount.minor for a in self.adjustments if a.status is not RefundStatus.FAILED)
        return listed + self.unlisted

    @property
    def failed(self) -> tuple[Adjustment, ...]:
        return tuple(a for a in self.adjustments if a.status is RefundStatus.FAILED)


#: Words for an order that nobody will send any more.
CANCELLED: Final = ("canceled", "cancelled", "fully refunded")


@dataclass(frozen=True, slots=True)
class Etsy:
    spec: ClassVar[Spec] = SPEC
    http: Http
    shop_id: str
    now: Callable[[], datetime] = utc_now

    def check(self) -> Health:
        """One read that needs the key, the token, its scope and the shop."""
        response = self.http.send(check_request(self.shop_id))
        rows = read_rows(response)
        if not isinstance(rows, list):
            return Health(False, rows.reason)
        count = _number(response.json, "count")
        return Health(True, f"shop {self.shop_id}" + (f", {count} orders" if count is not None else ""))

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """Two calls: the receipt, and its payments. A receipt's id is its number."""
        receipt = self._receipt("read_order", ref.order_id or ref.number.lstrip("#"))
        if not isinstance(receipt, Receipt):
            return receipt
        match self._payments_of("read_order", receipt.receipt_id):
            case list() as payments:
                return order_facts(receipt, payments)
            case NotFound():
                return order_facts(receipt, [])
            case no:
                return no

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """What the units cost, where the order has no tax and no discount on top; else a person sees it in Shop Manager."""
        match self._receipt("quote_lines", order.order_id):
            case Receipt() as receipt:
                return quote(receipt, lines)
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Two calls: the payment with its adjustments, and the receipt that it is for. `order_id` may be empty."""
        if not is_id(payment_reference):
            return NotFound(0.0, f"{payment_reference!r:.60} is no payment of Etsy's")
        if order_id:
            payments = self._payments_of("read_payment", order_id)
        else:
            payments = read_payments(self.http.send(payments_request(self.shop_id, [payment_reference])))
        if not isinstance(payments, list):
            return payments
        paid = next((p for p in payments if p.payment_id == payment_reference), None)
        if paid is None:
            return NotFound(0.0, f"Etsy shows no payment {payment_reference}")
        match self._receipt("read_payment", paid.receipt_id):
            case Receipt() as receipt:
                return payment_facts(paid, receipt, self.now())
            case NotFound(reason=reason):
                return Unknown(f"the order of payment {payment_reference} is not there: {reason}")
            case no:
                return no

    # ------------------------------------------------------------ polling

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """One page of the list whose turn it is, with the payments of what stands on it: three calls, five where receipts are
        asked about one by one.
        """
        seconds = int(now.timestamp())
        at = read_cursor(cursor, seconds)
        match at.turn_at(seconds):
            case Turn.CANCELS:
                return self._poll_cancels(at, seconds)
            case Turn.LEDGER:
                return self._poll_ledger(at, seconds)
            case Turn.ORDERS:
                return self._poll_asked(at, seconds) if at.asks else self._poll_orders(at, seconds)

    def _poll_cancels(self, at: Cursor, seconds: int) -> Polled | NoAnswer:
        walk = at.cancels.started(seconds)
        listed = read_listed(self.http.send(cancels_request(self.shop_id, walk.offset)))
        if not isinstance(listed, list):
            return listed
        is_first = at.cancels.done == at.begun
        told = [
            row
            for row in listed
            if row.receipt_id not in at.told and (not is_first or row.newest >= at.begun)
        ]
        # Newest first: a page that reaches back to what the last walk saw ends this one.
        is_open = (
            len(listed) >= _PAGE
            and min(row.updated for row in listed) >= walk.done - _OVERLAP_S
            and walk.offset < _MOST_CANCELS
        )
        after = replace(
            at,
            cancels=walk.further(_PAGE - _OVERLAP_ROWS) if is_open else walk.finished(),
            told=tuple(dict.fromkeys([*(row.receipt_id for row in listed), *at.told]))[:_MEMORY],
        )
        return polled([cancel_event(self.shop_id, row.receipt_id) for row in told], after, seconds)

    def _poll_ledger(self, at: Cursor, seconds: int) -> Polled | NoAnswer:
        # From where the last sweep ended, however long ago; what a missed day left is made good window by window.
        walk = at.ledger.started(min(seconds, at.ledger.done + _WINDOW_S))
        since = walk.done - _OVERLAP_S
        entries = read_list(self.http.send(entries_request(self.shop_id, since, walk.until, walk.offset)))
        if not isinstance(entries, list):
            return entries
        news = read_refund_entries(entries)
        if not isinstance(news, EntryNews):
            return news
        events = self._refunds_of(news)
        if not isinstance(events, list):
            return events
        after = replace(at, ledger=walk.further(len(entries)) if len(entries) >= _PAGE else walk.finished())
        return polled(events, after, seconds)

    def _refunds_of(self, news: EntryNews) -> list[PolledEvent] | NoAnswer:
        """The refunds behind entries, with the receipts that they are of. Two calls at most."""
        requests = []
        if news.payments:
            requests.append(payments_request(self.shop_id, sorted(news.payments), "poll"))
        if news.unexplained:
            requests.append(entry_payments_request(self.shop_id, news.unexplained))
        told = {each.adjustment_id: each for each in news.told}
        for request in requests:
            found = read_refund_news(self.http.send(request))
            if not isinstance(found, list | NotFound):
                return found
            # What a payment says is newer than what its entry said; an entry whose payment is not shown still speaks.
            told |= {each.adjustment_id: each for each in found} if isinstance(found, list) else {}
        return [refund_event(self.shop_id, each) for each in told.values()]

    def _poll_orders(self, at: Cursor, seconds: int) -> Polled | NoAnswer:
        walk = at.orders.started(seconds)
        since = walk.done - _RECONCILED_S
        listed = read_listed(self.http.send(orders_request(self.shop_id, since, walk.until, walk.offset)))
        if not isinstance(listed, list):
            return listed
        told = [
            row
            for row in listed
            if row.is_cancelled and row.receipt_id not in at.told and row.newest >= at.begun
        ]
        after = replace(
            at,
            orders=walk.further(len(listed)) if len(listed) >= _PAGE else walk.finished(),
            asks=tuple(row.receipt_id for row in listed if row.refunded >= at.begun),
        )
        return polled([cancel_event(self.shop_id, row.receipt_id) for row in told], after, seconds)

    def _poll_asked(self, at: Cursor, seconds: int) -> Polled | NoAnswer:
        """What went back of receipts whose list says that something did."""
        events: list[PolledEvent] = []
        for receipt_id in at.asks[:_ASKS]:
            request = receipt_payments_request(self.shop_id, receipt_id, "poll")
            found = read_refund_news(self.http.send(request))
            if not isinstance(found, list | NotFound):
                return found
            events += [refund_event(self.shop_id, each) for each in found] if isinstance(found, list) else []
        return polled(events, replace(at, asks=at.asks[_ASKS:]), seconds)

    # ------------------------------------------------------------ reads that several methods share

    def _receipt(self, operation: str, receipt_id: str) -> Receipt | NotFound | NoAnswer:
        if not is_id(receipt_id):
            return NotFound(0.0, f"{receipt_id!r:.60} is no number of an Etsy order")
        return read_receipt(self.http.send(receipt_request(self.shop_id, receipt_id, operation)), receipt_id)

    def _payments_of(self, operation: str, receipt_id: str) -> list[Paid] | NotFound | NoAnswer:
        if not is_id(receipt_id):
            return NotFound(0.0, f"{receipt_id!r:.60} is no number of an Etsy order")
        found = read_payments(self.http.send(receipt_payments_request(self.shop_id, receipt_id, operation)))
        if isinstance(found, list) and any(p.receipt_id != receipt_id for p in found):
            return Unknown(f"a payment of another order stands among those of {receipt_id}")
        return found


# ---------------------------------------------------------------------------------------------------------------------
# Requests

_PAGE: Final = 100


def token_request(credentials: Credentials, refresh_token: str) -> Request:
    return Request(
        "POST",
        credentials.token_url,
        "etsy.token",
        form=(
            ("grant_type", "refresh_token"),
            ("client_id", credentials.keystring),
            ("refresh_token", refresh_token),
        ),
    )


def check_request(shop_id: str) -> Request:
    return _get(shop_id, "receipts", "check", ("limit", "1"))


def receipt_request(shop_id: str, receipt_id: str, operation: str = "read_order") -> Request:
    return _get(shop_id, f"receipts/{receipt_id}", operation)


def receipt_payments_request(shop_id: str, receipt_id: str, operation: str = "read_payment") -> Request:
    return _get(shop_id, f"receipts/{receipt_id}/payments", operation)


def payments_request(shop_id: str, payment_ids: Iterable[str], operation: str = "read_payment") -> Request:
    return _get(shop_id, "payments", operation, ("payment_ids", ",".join(payment_ids)))


def cancels_request(shop_id: str, offset: int) -> Request:
    """Without a limit in time: a cancel does not always count as a change."""
    params = (("was_canceled", "true"), ("sort_on", "updated"), ("sort_order", "desc"))
    return _get(shop_id, "receipts", "poll", *params, *_paged(offset))


def orders_request(shop_id: str, since: int, until: int, offset: int) -> Request:
    """By the time of the order, which nothing changes. `since`, `until`: epoch seconds."""
    window = (("min_created", str(since)), ("max_created", str(until)))
    order = (("sort_on", "created"), ("sort_order", "asc"))
    return _get(shop_id, "receipts", "poll", *window, *order, *_paged(offset))


def entries_request(shop_id: str, since: int, until: int, offset: int) -> Request:
    """`since`, `until`: epoch seconds, no more than 31 days apart."""
    window = (("min_created", str(since)), ("max_created", str(until)))
    return _get(shop_id, "payment-account/ledger-entries", "poll", *window, *_paged(offset))


def entry_payments_request(shop_id: str, entry_ids: Iterable[str]) -> Request:
    named = ("ledger_entry_ids", ",".join(entry_ids))
    return _get(shop_id, "payment-account/ledger-entries/payments", "poll", named)


def _paged(offset: int) -> tuple[tuple[str, str], ...]:
    return ("limit", str(_PAGE)), ("offset", str(offset))


def _get(shop_id: str, what: str, operation: str, *params: tuple[str, str]) -> Request:
    return Request("GET", f"/v3/application/shops/{shop_id}/{what}", f"etsy.{operation}", params=params)


def is_id(text: str) -> bool:
    """Whether a text is a number of Etsy's, and may be put into a path."""
    return re.fullmatch(r"[1-9][0-9]{0,18}", text, re.ASCII) is not None


# ---------------------------------------------------------------------------------------------------------------------
# Orders


def read_receipt(response: Response, receipt_id: str) -> Receipt | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"receipt_id": int(found), "status": str(status), "transactions": list(rows)} as value:
            if str(found) != receipt_id:
                return Unknown(f"asked for order {receipt_id}, Etsy answered with {found}")
        case 200, _:
            return Unknown(f"order {receipt_id} cannot be read")
        case _:
            return read_failure(response)
    lines = [_line(row) for row in rows]
    total, created, updated = _money(value, "grandtotal"), _time(value, "created"), _time(value, "updated")
    is_paid = value.get("is_paid")
    if total is None or created is None or not isinstance(is_paid, bool) or None in lines:
        return Unknown(f"order {receipt_id} cannot be read")
    shipped = value.get("is_shipped") is True
    whole = tuple(replace(line, is_shipped=line.is_shipped or shipped) for line in lines if line)
    return Receipt(
        receipt_id=receipt_id,
        status=status.strip().lower(),
        created_at=_moment(created),
        updated_at=_moment(created if updated is None else updated),
        total=total,
        is_paid=is_paid,
        lines=whole,
        is_plain=_is_plain(value, total, whole),
        payment_method=_text(value, "payment_method"),
        email=_text(value, "buyer_email"),
        name=_text(value, "name"),
    )


def _line(row: Any) -> Line | None:
    line_id, quantity, unit = _number(row, "transaction_id"), _number(row, "quantity"), _money(row, "price")
    if line_id is None or quantity is None or quantity < 0 or unit is None:
        return None
    parts = (_number(row, "listing_id"), _number(row, "product_id"))
    named = "-".join(str(part) for part in parts if part)
    return Line(
        str(line_id),
        _text(row, "sku").strip() or named,
        _text(row, "title"),
        quantity,
        _number(row, "shipped_timestamp") is not None,
        unit,
    )


def _is_plain(value: Mapping[str, Any], total: Money, lines: Iterable[Line]) -> bool:
    """Whether the lines' prices, shipping and gift wrap are the whole total."""
    named = [
        _money(value, name)
        for name in ("discount_amt", "total_tax_cost", "total_shipping_cost", "gift_wrap_price")
    ]
    discount, tax, *rest = named
    if not (discount and tax) or discount.minor or tax.minor or None in rest:
        return False
    goods = [Money(line.unit.minor * line.quantity, line.unit.currency) for line in lines]
    parts = [*goods, *(part for part in rest if part)]
    return all(part.currency == total.currency for part in parts) and total.minor == sum(
        part.minor for part in parts
    )


def order_facts(receipt: Receipt, payments: Sequence[Paid]) -> OrderFacts:
    """`number`: the receipt's id, which is what people see at Etsy."""
    given = _given_by_line(p for p in payments if p.gross.currency == receipt.total.currency)
    return OrderFacts(
        platform=SPEC.platform,
        order_id=receipt.receipt_id,
        number=receipt.receipt_id,
        created_at=receipt.created_at,
        currency=receipt.total.currency,
        total=receipt.total,
        email=receipt.email,
        lines=tuple(_order_line(receipt, line, given) for line in receipt.lines),
        payments=tuple(order_payments(receipt, payments)),
        cancelled_at=receipt.updated_at if receipt.is_cancelled else None,
        customer_name=receipt.name,
        cancels=TakesBack.PERSON,
        cancels_lines=TakesBack.PERSON,
        # The person who cancels is asked there whether the units go back on sale.
        is_restock_carried=True,
        records_refunds=False,
        # With the cancel Etsy itself ends whatever was only authorised.
        releases_authorisations=True,
    )


def _order_line(receipt: Receipt, line: Line, given: Mapping[str, int]) -> OrderLine:
    # An adjustment names lines and amounts, not units: a line counts as given back when its whole price was.
    worth = line.unit.minor * line.quantity
    is_gone = receipt.is_cancelled or (worth > 0 and given.get(line.line_id, 0) >= worth)
    return OrderLine(
        line_id=line.line_id,
        sku=line.sku,
        title=line.title,
        quantity=line.quantity,
        unfulfilled=0 if line.is_shipped else line.quantity,
        refundable=0 if is_gone else line.quantity,
        unit=line.unit,
    )


def _given_by_line(payments: Iterable[Paid]) -> dict[str, int]:
    given: dict[str, int] = {}
    for paid in payments:
        for adjustment in paid.adjustments:
            if adjustment.status is not RefundStatus.FAILED:
                for line_id, minor in adjustment.lines.items():
                    given[line_id] = given.get(line_id, 0) + minor
    return given


def order_payments(receipt: Receipt, payments: Iterable[Paid]) -> list[OrderPayment]:
    """What was paid through Etsy; where an order was paid and Etsy shows no payment, the money went past Etsy to the shop."""
    through = [
        OrderPayment(paid.payment_id, SPEC.platform, paid.payment_id, is_captured(paid, receipt), paid.gross)
        for paid in payments
    ]
    if through or not receipt.is_paid or not receipt.total.minor:
        return through
    gateway = f"{SPEC.platform}:{receipt.payment_method or 'other'}"
    return [OrderPayment(receipt.receipt_id, gateway, "", True, receipt.total)]


def quote(receipt: Receipt, lines: Iterable[LineQuantity]) -> Money | NoAnswer:
    by_id = {line.line_id: line for line in receipt.lines}
    total = 0
    for wanted in lines:
        line = by_id.get(wanted.line_id)
        if line is None or not 0 < wanted.quantity <= line.quantity:
            return Permanent(
                "unknown_line",
                f"order {receipt.receipt_id} has no {wanted.quantity} units of {wanted.line_id:.60}",
            )
        total += line.unit.minor * wanted.quantity
    if not receipt.is_plain:
        return Permanent(
            "not_priced",
            "Etsy tells tax and discounts for the whole order only: refund these lines in Shop Manager, which works them out: "
            f"{SHOP_MANAGER}{receipt.receipt_id}",
        )
    return Money(total, receipt.total.currency)


# ---------------------------------------------------------------------------------------------------------------------
# Payments


def read_payments(response: Response) -> list[Paid] | NotFound | NoAnswer:
    rows = read_rows(response)
    if not isinstance(rows, list):
        return rows
    payments: list[Paid] = []
    for row in rows:
        match _paid(row):
            case Paid() as paid:
                payments.append(paid)
            case no:
                return no
    return payments


def _paid(row: Any) -> Paid | NoAnswer:
    payment_id, receipt_id = _number(row, "payment_id"), _number(row, "receipt_id")
    gross = _money(row, "amount_gross")
    if payment_id is None or receipt_id is None or gross is None:
        return Unknown("a payment cannot be read")
    adjustments = [_adjustment(each, gross.currency) for each in _rows(row, "payment_adjustments")]
    if None in adjustments:
        return Unknown(f"the adjustments of payment {payment_id} cannot be read")
    left = _money(row, "adjusted_gross")
    if {row.get("currency") or gross.currency, left.currency if left else gross.currency} != {gross.currency}:
        return Permanent(
            "amount_mismatch", f"the amounts of payment {payment_id} are in several currencies: look at it"
        )
    paid = Paid(str(payment_id), str(receipt_id), gross, left, tuple(a for a in adjustments if a))
    if paid.living > gross.minor:
        # Units of another size than we take them for, or a mistake of Etsy's: no amount of it is to be trusted.
        words = f"of payment {payment_id} over {gross} more went back than was paid: look at it"
        return Permanent("amount_mismatch", words)
    return paid


def _adjustment(row: Any, currency: str) -> Adjustment | None:
    reference, minor = _number(row, "payment_adjustment_id"), _number(row, "total_adjustment_amount")
    if reference is None or minor is None or minor < 0:
        return None
    lines: dict[str, int] = {}
    for item in _rows(row, "payment_adjustment_items"):
        line_id, amount = _number(item, "transaction_id"), _number(item, "amount")
        if line_id is not None and amount is not None:
            lines[str(line_id)] = lines.get(str(line_id), 0) + amount
    word = _text(row, "status").strip().upper()
    return Adjustment(
        str(reference), word, refund_status(word, row.get("is_success")), Money(minor, currency), lines
    )


_OPEN: Final = ("OPEN", "PENDING", "PROCESSING")


def refund_status(word: str, is_success: object) -> RefundStatus:
    """`is_success` alone is a hope: it is said of what is still under way too. A word that is new to us counts as on its way."""
    if word == "REFUNDED" and is_success is True:
        return RefundStatus.SUCCEEDED
    if (is_success is False and word not in _OPEN) or "FAIL" in word or "ERROR" in word:
        return RefundStatus.FAILED
    return RefundStatus.PENDING


def payment_facts(paid: Paid, receipt: Receipt, now: datetime) -> PaymentFacts | NoAnswer:
    left = paid.gross.minor - paid.living
    age_s = (now - receipt.updated_at).total_seconds()
    if receipt.is_cancelled and receipt.is_paid and left > 0 and not paid.failed and age_s < _REFUND_SHOWS_S:
        return Retryable(
            "unavailable",
            f"order {receipt.receipt_id} was cancelled at Etsy a moment ago, and its refund does not show yet",
            max(_FIRST_LOOK_S, age_s / 2),
        )
    nothing = Money(0, paid.gross.currency)
    refunds = [RefundFact(a.reference, a.amount, a.status) for a in paid.adjustments]
    if paid.unlisted:
        gone = Money(paid.unlisted, paid.gross.currency)
        refunds.append(RefundFact(f"{paid.payment_id}:unlisted", gone, RefundStatus.SUCCEEDED))
    was_paid = is_captured(paid, receipt)
    return PaymentFacts(
        platform=SPEC.platform,
        reference=paid.payment_id,
        state=PaymentState.CAPTURED if was_paid else PaymentState.NOT_PAID,
        authorised=nothing,
        captured=paid.gross if was_paid else nothing,
        refunds=tuple(refunds),
        gateway=SPEC.platform,
        order_number=receipt.receipt_id,
        refund_refusal=refund_refusal(paid, receipt),
        is_returned_there=True,
    )


def is_captured(paid: Paid, receipt: Receipt) -> bool:
    """Whether the buyer paid. A payment's own "authed" and "settled" tell when the shop's account is credited."""
    return receipt.is_paid or bool(paid.living)


def refund_refusal(paid: Paid, receipt: Receipt) -> str:
    """Why no call gives this money back, and what a person does instead."""
    link = f"{SHOP_MANAGER}{receipt.receipt_id}"
    if paid.failed:
        last = paid.failed[-1]
        return f"refund {last.reference} of it ended as {last.word}: see in Shop Manager what Etsy does about it, and give nothing back elsewhere: {link}"
    if receipt.is_cancelled:
        return f"the order is {receipt.status} at Etsy already: see in Shop Manager what became of its refund, and give nothing back elsewhere: {link}"
    return f"Etsy returns its own payments, when a person tells it to: cancel and refund in Shop Manager, and nowhere else: {link}"


# ---------------------------------------------------------------------------------------------------------------------
# Polling

#: What the next window repeats of the one before.
_OVERLAP_S: Final = 3600
#: A list that is sorted by its latest change moves while it is paged: pages repeat some rows of the one before.
_OVERLAP_ROWS: Final = 10
#: Well within the 31 days that a window may have, and few enough entries to be paged.
_WINDOW_S: Final = 7 * 86_400
_SWEEP_EVERY_S: Final = 1800
_RECONCILE_EVERY_S: Final = 86_400
_RECONCILED_S: Final = 30 * 86_400
#: The list of cancels goes first again when the other lists keep it waiting, or fail, for so long.
_LATE_S: Final = 600
_MEMORY: Final = 500
_MOST_CANCELS: Final = 5000
_ASKS: Final = 5


class Turn(StrEnum):
    CANCELS = "cancels"
    LEDGER = "ledger"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class Stretch:
    """How far a list was read. `done`: up to this time (epoch seconds); `until`: where the walk under way ends (0: none is);
    `offset`: its next row.
    """

    done: int
    until: int = 0
    offset: int = 0

    def started(self, until: int) -> Stretch:
        return self if self.until else Stretch(self.done, max(until, self.done))

    def further(self, rows: int) -> Stretch:
        return replace(self, offset=self.offset + rows)

    def finished(self) -> Stretch:
        return Stretch(self.until)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Three lists, one page a call. `cancels`: cancelled orders, the latest change first, at every look: what is not among the
    newest that were there before (`told`) is news, whether or not its time was changed. `ledger`: entries of the payment
    account, every half hour: refunds. `orders`: all orders of 30 days by the time they were placed, every day: what the other
    two do not show; `asks`: its orders of which something went back, to be asked about next.

    `begun`: what happened before that is not told; `turn`: whose turn is next.
    """

    begun: int
    cancels: Stretch
    ledger: Stretch
    orders: Stretch
    turn: Turn = Turn.CANCELS
    told: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()

    def turn_at(self, seconds: int) -> Turn:
        is_late = seconds - self.cancels.done >= _LATE_S
        return Turn.CANCELS if is_late else self.turn

    def is_due(self, turn: Turn, seconds: int) -> bool:
        match turn:
            case Turn.CANCELS:
                return bool(self.cancels.until)
            case Turn.LEDGER:
                return bool(self.ledger.until) or seconds - self.ledger.done >= _SWEEP_EVERY_S
            case Turn.ORDERS:
                late = seconds - self.orders.done >= _RECONCILE_EVERY_S
                return bool(self.orders.until or self.asks) or late


def new_cursor(seconds: int) -> Cursor:
    """Begins a day back. All orders are gone through a day later for the first time: until then the other lists suffice."""
    begun = seconds - 86_400
    return Cursor(begun, Stretch(begun), Stretch(begun), Stretch(seconds))


def read_cursor(text: str, seconds: int) -> Cursor:
    """What is no cursor of ours begins a day back, like none at all."""
    match parse_json(text.encode()):
        case {
            "v": 1,
            "begun": int(begun),
            "turn": "cancels" | "ledger" | "orders" as turn,
            "cancels": [int(), int(), int()] as cancels,
            "ledger": [int(), int(), int()] as ledger,
            "orders": [int(), int(), int()] as orders,
            "told": list(told),
            "asks": list(asks),
        } if all(isinstance(x, str) and is_id(x) for x in (*told, *asks)):
            return Cursor(
                begun,
                Stretch(*cancels),
                Stretch(*ledger),
                Stretch(*orders),
                Turn(turn),
                tuple(told),
                tuple(asks),
            )
        case _:
            return new_cursor(seconds)


def write_cursor(at: Cursor) -> str:
    stretches = {
        name: [each.done, each.until, each.offset]
        for name, each in (("cancels", at.cancels), ("ledger", at.ledger), ("orders", at.orders))
    }
    told = {"told": list(at.told), "asks": list(at.asks)}
    return _json({"v": 1, "begun": at.begun, "turn": at.turn.value, **stretches, **told})


def polled(events: Iterable[PolledEvent], at: Cursor, seconds: int) -> Polled:
    """The page's news, and whose turn is next: the first list with something to read, or nobody's before the next look."""
    turn = next((turn for turn in Turn if at.is_due(turn, seconds)), None)
    cursor = write_cursor(replace(at, turn=turn or Turn.CANCELS))
    return Polled(tuple(events), cursor, has_more=turn is not None)


@dataclass(frozen=True, slots=True)
class Listed:
    """A receipt of a list, as much as polling needs. Times in epoch seconds; `refunded`: of the latest refund, 0 without one."""

    receipt_id: str
    is_cancelled: bool
    created: int
    updated: int
    refunded: int

    @property
    def newest(self) -> int:
        return max(self.created, self.updated)


def read_listed(response: Response) -> list[Listed] | NoAnswer:
    rows = read_list(response)
    if not isinstance(rows, list):
        return rows
    listed: list[Listed] = []
    for row in rows:
        receipt_id, created = _number(row, "receipt_id"), _time(row, "created")
        if receipt_id is None or created is None:
            return Unknown("an order of the list cannot be read")
        updated = _time(row, "updated")
        # A refund without a time is as new as the order's last change.
        refunded = [_time(each, "created") or updated or created for each in _rows(row, "refunds")]
        listed.append(
            Listed(
                str(receipt_id),
                _text(row, "status").strip().lower() in CANCELLED,
                created,
                created if updated is None else updated,
                max(refunded, default=0),
            )
        )
    return listed


@dataclass(frozen=True, slots=True)
class RefundNews:
    """How an adjustment stands. `receipt_id`: empty where nobody says."""

    adjustment_id: str
    word: str
    payment_id: str
    receipt_id: str = ""


@dataclass(frozen=True, slots=True)
class EntryNews:
    """Refunds among ledger entries. `unexplained`: entries about a refund that do not name their adjustment."""

    told: tuple[RefundNews, ...]
    unexplained: tuple[str, ...]

    @property
    def payments(self) -> frozenset[str]:
        return frozenset(each.payment_id for each in self.told)


def read_refund_entries(entries: Iterable[Any]) -> EntryNews | Unknown:
    told: list[RefundNews] = []
    unexplained: list[str] = []
    for entry in entries:
        entry_id = _number(entry, "entry_id")
        if entry_id is None:
            return Unknown("a ledger entry cannot be read")
        found = [_news(each, "") for each in _rows(entry, "payment_adjustments")]
        if None in found:
            return Unknown(f"the adjustments of ledger entry {entry_id} cannot be read")
        told += [each for each in found if each]
        if not found and is_about_refund(entry):
            unexplained.append(str(entry_id))
    return EntryNews(tuple(told), tuple(unexplained))


def is_about_refund(entry: Mapping[str, Any]) -> bool:
    """Whether an entry stands for money that went back to a buyer, or came back again; fees that Etsy returns are none."""
    kind, about = _text(entry, "ledger_type").upper(), _text(entry, "reference_type").lower()
    return about == "payment_adjustment" or kind.startswith("REFUND")


def read_refund_news(response: Response) -> list[RefundNews] | NotFound | NoAnswer:
    """How the adjustments of all payments in the answer stand."""
    rows = read_rows(response)
    if not isinstance(rows, list):
        return rows
    told: list[RefundNews] = []
    for row in rows:
        receipt_id = _number(row, "receipt_id")
        found = [_news(each, str(receipt_id)) for each in _rows(row, "payment_adjustments")]
        if receipt_id is None or None in found:
            return Unknown("the refunds of a payment cannot be read")
        told += [each for each in found if each]
    return told


def _news(row: Any, receipt_id: str) -> RefundNews | None:
    adjustment_id, payment_id = _number(row, "payment_adjustment_id"), _number(row, "payment_id")
    word = _text(row, "status").strip().upper()
    if adjustment_id is None or payment_id is None or not word:
        return None
    return RefundNews(str(adjustment_id), word, str(payment_id), receipt_id)


def cancel_event(shop_id: str, receipt_id: str) -> PolledEvent:
    """The same news as the webhook's, with the same id."""
    url = f"{SPEC.base_url}/v3/application/shops/{shop_id}/receipts/{receipt_id}"
    body = {"event_type": ORDER_CANCELED, "resource_url": url, "shop_id": shop_id}
    return PolledEvent(cancel_id(shop_id, receipt_id), ORDER_CANCELED, _json(body).encode())


def refund_event(shop_id: str, news: RefundNews) -> PolledEvent:
    body = {
        "shop_id": shop_id,
        "receipt_id": news.receipt_id,
        "payment_id": news.payment_id,
        "payment_adjustment_id": news.adjustment_id,
        "status": news.word,
    }
    source_event_id = f"payment_adjustment:{news.adjustment_id}:{news.word}"
    return PolledEvent(source_event_id, REFUND, _json(body).encode())


def cancel_id(shop_id: str, receipt_id: str) -> str:
    return f"{shop_id}:{receipt_id}:canceled"


# ---------------------------------------------------------------------------------------------------------------------
# What answers have in common


def read_rows(response: Response) -> list[Any] | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"results": list(rows)} if all(isinstance(row, dict) for row in rows):
            return rows
        case 200, _:
            return Unknown("the answer is no list of Etsy's")
        case _:
            return read_failure(response)


def read_list(response: Response) -> list[Any] | NoAnswer:
    """The rows of a list of the shop, which is there even where it is empty."""
    rows = read_rows(response)
    return Permanent("no_such_shop", rows.reason) if isinstance(rows, NotFound) else rows


def read_failure(response: Response) -> NotFound | NoAnswer:
    """An answer that is not the one that was hoped for. Nothing here has an effect, so that "later" is always safe."""
    match response.json:
        case {"error": str(error), "error_description": str(more)} if error:
            told = f"{error}: {more}"
        case {"error": str(error)} if error:
            told = error
        case _:
            told = ""
    reason = told or f"status {response.status}"
    match REFUSALS.get(response.status):
        case Means.HOUSE:
            return Retryable(
                "unauthorised",
                f"Etsy refuses our connection ({reason}): check REFUNDFLOW_ETSY_KEYSTRING, REFUNDFLOW_ETSY_SHARED_SECRET and "
                "REFUNDFLOW_ETSY_SHOP_ID, and whether the shop is still connected with the scope transactions_r",
            )
        case Means.SLOWER:
            is_day = response.headers.get("x-remaining-today", "").strip() == "0"
            after_s = response.retry_after_s
            words = "Etsy's calls of a day are used up" if is_day else "Etsy is asked too often"
            return Retryable("throttled", words, _DAY_USED_UP_S if is_day and after_s is None else after_s)
        case Means.AGAIN:
            return Retryable("unavailable", f"Etsy is not available: {reason}", response.retry_after_s)
        case Means.ABSENT if told:
            return NotFound(0.0, told)
        case Means.NO if told:
            return Permanent(f"status_{response.status}", told)
        case _:
            return Unknown(f"no clear answer from Etsy: {reason}")


class Means(StrEnum):
    """What a refusal is worth. HOUSE: our connection is to blame. SLOWER: too many calls. AGAIN: Etsy has trouble. ABSENT: there is no
    such thing. NO: the question was understood and refused.
    """

    HOUSE = "house"
    SLOWER = "slower"
    AGAIN = "again"
    ABSENT = "absent"
    NO = "no"


#: Etsy's errors have a text and no code: the status decides.
REFUSALS: Final[Mapping[int, Means]] = {
    400: Means.NO,
    401: Means.HOUSE,
    403: Means.HOUSE,
    404: Means.ABSENT,
    409: Means.NO,
    422: Means.NO,
    429: Means.SLOWER,
    500: Means.AGAIN,
    502: Means.AGAIN,
    503: Means.AGAIN,
    504: Means.AGAIN,
}


def _money(value: Any, name: str) -> Money | None:
    """A Money object; None where there is none, or where it is no whole number of the currency's minor units."""
    match value:
        case {**members}:
            pass
        case _:
            return None
    match members.get(name):
        case {"amount": int(amount), "divisor": int(divisor), "currency_code": str(currency)} if (
            divisor > 0 and not isinstance(amount, bool) and re.fullmatch(r"[A-Z]{3}", currency)
        ):
            minor = Fraction(amount, divisor) * 10 ** exponent_of(currency)
            return Money(minor.numerator, currency) if minor.denominator == 1 else None
        case _:
            return None


def _number(value: Any, name: str) -> int | None:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _time(value: Any, which: str) -> int | None:
    """An epoch second under its new name, else under its old one."""
    names = (f"{which}_timestamp", f"{which.removesuffix('d')}_timestamp")
    found = [at for name in names if (at := _number(value, name)) is not None and 0 < at < 2**33]
    return found[0] if found else None


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(value: Any, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _rows(value: Any, name: str) -> list[Any]:
    """The members of a list; none where there is no list."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


# ---------------------------------------------------------------------------------------------------------------------
# Events

ORDER_CANCELED: Final = "order.canceled"
#: Our own topic: Etsy has no event about a refund.
REFUND: Final = "refund"
_TOLERANCE_S: Final = 300.0
_MOST_BYTES: Final = 65_536
_RECEIPT_ADDRESS: Final = re.compile(
    r"https?://[^/?#\s]+/(?:[^?#\s]*/)?shops/([0-9]+)/receipts/([0-9]+)/?(?:[?#].*)?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class EtsyInbound:
    """Webhooks of one application (https://developers.etsy.com/documentation/essentials/webhooks, read 2026-11-25), signed as Standard
    Webhooks are; and what polling found. Bodies are thin: whoever acts on one reads the order first, at the address that
    is set, never at the one that is given. `shop_id`: ours; an application may hear of several shops.
    """

    platform: ClassVar[str] = SPEC.platform
    secret: Secret
    shop_id: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """Several secrets may hold, and several signatures may be given, with their version in front or without."""
        keys = signing_keys(split_secrets(self.secret.reveal()))
        if not keys:
            return Refused("no webhook secret is set")
        if len(delivery.body) > _MOST_BYTES:
            return Refused("the body is too long")
        message_id, timestamp, signature = (
            delivery.headers.get(name, "")
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        )
        given = [part.removeprefix("v1,") for part in signature.split()]
        if not message_id or not re.fullmatch(r"[0-9]{1,12}", timestamp, re.ASCII) or not given:
            return Refused("the signature headers are missing or cannot be read")
        message = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + delivery.body
        if not is_any([signature_of(key, message) for key in keys], given):
            return Refused("the signature does not match")
        if not is_fresh(int(timestamp), now, _TOLERANCE_S):
            return Refused(f"the signature is not from the last {_TOLERANCE_S:.0f} seconds")
        return identify(message_id, delivery.body)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event that matters to us does not say what it is about."""
        match topic, parse_json(body):
            case "order.canceled", {**event}:
                shop_id, receipt_id = subject_of(event)
                if not receipt_id:
                    raise MalformedError("resource_url", "names no receipt of a shop")
                if self.shop_id not in ("", shop_id):
                    return Irrelevant(f"it is about shop {shop_id}, not ours")
                return OrderCancelledElsewhere(OrderRef(SPEC.platform, receipt_id))
            case "refund", {"payment_id": str(payment_id), "receipt_id": str(receipt_id)} if is_id(
                payment_id
            ):
                order = OrderRef(SPEC.platform, receipt_id) if is_id(receipt_id) else None
                return PaymentRefundsChanged(SPEC.platform, payment_id, order)
            case "refund", _:
                raise MalformedError("payment_id", "is no payment's number")
            case "order.canceled" | "unknown", _:
                raise MalformedError("event_type", "the body is no event")
            case _:
                return Irrelevant(f"{topic} asks nothing of us")


def identify(message_id: str, body: bytes) -> Verified:
    """A cancel is known by its order, so that polling and webhook tell it once; all else by the message's own id."""
    match parse_json(body):
        case {"event_type": str(kind), **event} if kind:
            # An earlier form of the page wrote them ORDER_PAID.
            topic = kind.lower().replace("_", ".")
        case _:
            return Verified(message_id, "unknown")
    shop_id, receipt_id = subject_of(event)
    is_cancel = topic == ORDER_CANCELED and receipt_id
    return Verified(cancel_id(shop_id, receipt_id) if is_cancel else message_id, topic)


def subject_of(event: Mapping[Any, Any]) -> tuple[str, str]:
    """Shop and receipt of an event, from the path of its address; both empty where it names none. An earlier form of the page
    put the address into `data`.
    """
    address = _text(event, "resource_url") or _text(event.get("data"), "resource_url")
    found = _RECEIPT_ADDRESS.fullmatch(address)
    return (found[1], found[2]) if found and is_id(found[1]) and is_id(found[2]) else ("", "")


def signing_keys(secrets: Iterable[str]) -> list[bytes]:
    """The keys that the secrets stand for; those that are no base64 are left out."""
    bare = [secret.removeprefix("whsec_") for secret in secrets]
    return [
        base64.b64decode(text)
        for text in bare
        if len(text) % 4 == 0 and re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text, re.ASCII)
    ]


def signature_of(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
