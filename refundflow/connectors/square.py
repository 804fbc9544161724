"""Square: shop platform, owner of stock, and payer. Fences orders, puts units back, refunds and releases payments.

API v2, version 2026-08-19, pinned by header (https://developer.squareup.com/reference/square, read 2026-11-25; the newest
published description is of 2025-08-20). Authorised by an access token with ORDERS, PAYMENTS and INVENTORY read and write, and
DISPUTES_READ.

Square has no call that cancels a paid order; what "cancelled" means here is our own rule
(docs/decisions/0007-square-has-no-cancel.md): every fulfilment is CANCELED and what was paid went back. An order on which
nothing was paid or authorised becomes CANCELED itself.

Quirks
- An update names the order's newest `version`, or is refused with VERSION_MISMATCH: the order is read and judged again. The key
  of an update names its version, because what is sent for another version is another request.
- Unknown names in an update are passed over with a 200: only the order in the answer says what was done.
- Orders that are COMPLETED or CANCELED, and those made outside the API (they have no version), cannot be updated at all.
- An order does not tell the state of all its payments, nor that they were refunded: each payment is read beside it.
- Refunds are found through the payment (`refund_ids`) and our reference in `reason`; keys have 45 bytes, and how long they are
  honoured is not said: every refund looks before it is sent.
- `payment_version_token` is not used. It changes with every refund, ours too, so a repeat would no longer be the request that its
  key was used for. What it would stop, more going back than was paid, Square stops by itself, and our look before.
- A refund that FAILED cannot be repeated on its payment. Cash and external payments are only *recorded* as refunded: nothing of
  that is done here, a person hands the money over.
- Stock moves from UNLINKED_RETURN to IN_STOCK, with our reference. Square lowers stock when an order is paid, so that units of an
  order that never was are not put back. Adjustments have to be dated within 24 hours.
- Lines name articles of the catalogue, not SKUs: `sku` is the id of the catalogue's variation.
- Empty lists are left out of answers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.connectors.looking import look_first, uncertain
from refundflow.domain.commands import CancelOrder, Refund, Restock, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
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
    Tender,
)
from refundflow.domain.ids import opened_at
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
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
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, sign_base64, split_secrets

_DOC: Final = "https://developer.squareup.com/reference/square"

SPEC: Final = Spec(
    platform="square",
    api_version="2026-08-19",
    base_url="https://connect.squareup.com",
    operations={
        Capability.READ_ORDER: Operation(
            "GET /v2/orders/{order_id}", Idempotency.READ, f"{_DOC}/orders-api/retrieve-order"
        ),
        Capability.QUOTE_LINES: Operation(
            "GET /v2/orders/{order_id}", Idempotency.READ, f"{_DOC}/orders-api/retrieve-order"
        ),
        # A cancelled fulfilment cannot be cancelled again, and our note replaces itself.
        Capability.CANCEL_ORDER: Operation(
            "PUT /v2/orders/{order_id}", Idempotency.NATURAL, f"{_DOC}/orders-api/update-order"
        ),
        # Keys go with both, but for how long they are honoured is not said: looked up before every try.
        Capability.RESTOCK: Operation(
            "POST /v2/inventory/changes/batch-create",
            Idempotency.LOOKUP,
            f"{_DOC}/inventory-api/batch-change-inventory",
        ),
        Capability.REFUND: Operation(
            "POST /v2/refunds", Idempotency.LOOKUP, f"{_DOC}/refunds-api/refund-payment"
        ),
        Capability.READ_PAYMENT: Operation(
            "GET /v2/payments/{payment_id}", Idempotency.READ, f"{_DOC}/payments-api/get-payment"
        ),
        Capability.VOID_PAYMENT: Operation(
            "POST /v2/payments/{payment_id}/cancel",
            Idempotency.NATURAL,
            f"{_DOC}/payments-api/cancel-payment",
        ),
        Capability.CHECK: Operation(
            "GET /v2/refunds", Idempotency.READ, f"{_DOC}/refunds-api/list-payment-refunds"
        ),
        Capability.INBOUND: Operation(
            "x-square-hmacsha256-signature",
            Idempotency.READ,
            "https://developer.squareup.com/docs/webhooks/step3validate",
        ),
    },
    # No limit is published.
    rate_per_s=5.0,
    burst=5,
    # Who paid, with what, and who receives; what people wrote.
    redact=frozenset(
        {
            "bank_account_details",
            "bin",
            "buy_now_pay_later_details",
            "card_details",
            "cash_app_details",
            "customer_note",
            "device_details",
            "fingerprint",
            "last_4",
            "note",
            "receipt_url",
            "shipping_note",
            "statement_description",
            "ticket_name",
            "wallet_details",
            "x-square-hmacsha256-signature",
        }
    ),
)

#: Our entry in an order's metadata: the step that cancelled it. Entries are private to the application that wrote them.
NOTE: Final = "refundflow_cancel"
_MOST_NOTES: Final = 10

#: A write whose answer was lost may still run; after this time an absence proves that it did not.
ORDER_SETTLED_S: Final = 30.0
MONEY_SETTLED_S: Final = 60.0
STOCK_SETTLED_S: Final = 60.0

#: Bytes that an idempotency key may have: a refund's are counted, whatever the characters.
_REFUND_KEY_BYTES: Final = 45
#: How often an order that changes under our hands is read and judged again within one call.
_MOST_ROUNDS: Final = 3
_MOST_PAGES: Final = 20
_MOST_REFUNDS: Final = 30
#: One look: a few of them and one write end within a step's lease.
_LOOK_S: Final = 8.0
_REFUND_WINDOW: Final = timedelta(days=365)
#: A clock that is a little ahead must not date stock into the future.
_CLOCK_MARGIN: Final = timedelta(seconds=5)
#: How long to wait where somebody else's refund, or the capture, has to end first.
_WAIT_S: Final = 1800.0

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """`access_token`: the shop's own token (it does not expire); `webhook_signature_key`: of the webhook subscription, several
    with commas between them while one is replaced; `notification_url`: the address that Square delivers to, exactly as it is
    registered there, because the signature covers it; `location_ids`: the places whose orders are searched by number,
    separated by commas; `search_days`: how far back that search goes.

    Sandbox: `base_url` https://connect.squareupsandbox.com, with a token of its own.
    """

    access_token: Secret
    webhook_signature_key: Secret = _NO_SECRET
    notification_url: str = ""
    location_ids: str = ""
    search_days: int = 120
    base_url: str = SPEC.base_url
    api_version: str = SPEC.api_version

    @property
    def locations(self) -> tuple[str, ...]:
        return tuple(part for raw in self.location_ids.split(",") if (part := raw.strip()))


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(credentials: Credentials, wire: Wire, now: Callable[[], datetime] = utc_now) -> Square:
    """The connector on a wire. `now`: aware; what stock is dated with, and where searches begin."""
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.base_url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        headers={
            "Authorization": f"Bearer {credentials.access_token.reveal()}",
            "Square-Version": credentials.api_version,
        },
        redact=SPEC.redact,
    )
    return Square(http, credentials.locations, credentials.search_days, now)


# ---------------------------------------------------------------------------------------------------------------------
# What Square shows


@dataclass(frozen=True, slots=True)
class Line:
    """A line item. `units`: pieces, or one where it is measured (2.25 pounds are one unit); `amount`: the quantity itself;
    `total`: minor units of the order's currency, taxes and discounts included; `article`: the catalogue's id, or empty.
    """

    uid: str
    title: str
    units: int
    amount: Decimal
    total: int
    article: str


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """`units`: per line uid; None where it is about all lines. `email`, `name`: of the recipient."""

    uid: str
    state: str
    units: Mapping[str, Decimal] | None
    email: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class OrderTender:
    """A tender of an order. `payment_id`: empty where it was not made through the Payments API; `card_status`: AUTHORIZED,
    CAPTURED, VOIDED or FAILED for cards.
    """

    tender_id: str
    payment_id: str
    kind: str
    card_status: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Order:
    """`version`: None where the order cannot be updated; `cancelled_by`: the step in our note; `notes`: entries in the
    metadata that count against the limit; `is_return`: it stands for a refund of another order.
    """

    order_id: str
    location: str
    version: int | None
    number: str
    state: str
    created_at: datetime
    changed_at: datetime
    total: Money
    lines: tuple[Line, ...]
    fulfilments: tuple[Fulfilment, ...]
    tenders: tuple[OrderTender, ...]
    cancelled_by: str
    notes: int
    is_return: bool

    @property
    def shipped(self) -> tuple[Fulfilment, ...]:
        return tuple(f for f in self.fulfilments if f.state == "COMPLETED")

    @property
    def open(self) -> tuple[Fulfilment, ...]:
        """What somebody may still ship. A state that is new to us counts as that."""
        return tuple(f for f in self.fulfilments if f.state not in _ENDED)

    @property
    def failed(self) -> tuple[Fulfilment, ...]:
        return tuple(f for f in self.fulfilments if f.state == "FAILED")

    @property
    def is_fenced(self) -> bool:
        """Whether nobody ships it any more, and that is visible: by a cancelled fulfilment, or by our note where there is
        none to cancel.
        """
        if self.open or self.shipped:
            return False
        return bool(self.cancelled_by) or any(f.state == "CANCELED" for f in self.fulfilments)

    @property
    def may_be_cancelled(self) -> bool:
        """Whether the state could become CANCELED, as far as fulfilments decide that."""
        return self.state in ("OPEN", "DRAFT") and not self.shipped and not self.failed


_ENDED: Final = ("COMPLETED", "CANCELED", "FAILED")


@dataclass(frozen=True, slots=True)
class Payment:
    """`source`: CARD, WALLET, CASH, EXTERNAL …; `kind`: of an external payment; `total`, `refunded`: as Square counts them
    (pending refunds may be in `refunded` or not).
    """

    payment_id: str
    status: str
    source: str
    total: Money
    refunded: int
    refund_ids: tuple[str, ...]
    order_id: str
    number: str
    location: str
    created_at: datetime
    email: str = ""
    kind: str = ""
    outside_id: str = ""
    is_gift_card: bool = False


@dataclass(frozen=True, slots=True)
class RefundObject:
    """`status`: None where Square has a word for it that we do not know; `step_key`, `key_number`: ours, from the reason."""

    reference: str
    payment_id: str
    amount: Money
    status: RefundStatus | None
    word: str
    step_key: str = ""
    key_number: int = 0


@dataclass(frozen=True, slots=True)
class Book:
    """An order and its payments."""

    order: Order
    payments: tuple[Payment, ...]

    @property
    def is_untouched_by_money(self) -> bool:
        """Whether nothing was paid, is authorised, or may be under way."""
        read = {p.payment_id for p in self.payments}
        outside = [t for t in self.order.tenders if t.payment_id not in read]
        return all(p.status in ("CANCELED", "FAILED") for p in self.payments) and all(
            t.card_status in ("VOIDED", "FAILED") or t.kind == "NO_SALE" for t in outside
        )

    @property
    def is_paid(self) -> bool:
        """Whether money was taken, by any tender."""
        read = {p.payment_id for p in self.payments}
        outside = [t for t in self.order.tenders if t.payment_id not in read]
        return any(p.status == "COMPLETED" for p in self.payments) or any(
            t.kind != "NO_SALE" and t.card_status in ("", "CAPTURED") for t in outside
        )

    @property
    def has_given_back_all(self) -> bool:
        """Whether all that was paid went back and nothing is authorised. Tenders without a payment never tell."""
        read = {p.payment_id for p in self.payments}
        if any(
            t.payment_id not in read and t.card_status not in ("VOIDED", "FAILED") for t in self.order.tenders
        ):
            return False
        settled = [p for p in self.payments if p.status not in ("CANCELED", "FAILED")]
        return all(p.status == "COMPLETED" and p.refunded >= p.total.minor for p in settled)

    @property
    def refund_ids(self) -> frozenset[str]:
        return frozenset(r for p in self.payments for r in p.refund_ids)


@dataclass(frozen=True, slots=True)
class MoneyBook:
    """A payment and all its refunds."""

    payment: Payment
    refunds: tuple[RefundObject, ...]

    @property
    def living(self) -> int:
        """Minor units that went back or are on their way."""
        return sum(r.amount.minor for r in self.refunds if r.status is not RefundStatus.FAILED)

    @property
    def unlisted(self) -> int:
        """Minor units that Square says went back, beyond the refunds that it lists."""
        return max(0, self.payment.refunded - self.living)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A movement of stock onto the shelf. `refund_id`: of the refund with which Square itself made it."""

    reference: str
    article: str
    amount: Decimal
    our_reference: str
    refund_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `cursor`: of the next one, empty on the last."""

    objects: list[Any]
    cursor: str


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class Square:
    """OrderPlatform, StockOwner, Refunder and Voider. Payments are named by their ids."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    locations: tuple[str, ...] = ()
    search_days: int = 120
    now: Callable[[], datetime] = field(default=utc_now)

    def check(self) -> Health:
        return read_health(self.http.send(check_request()))

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """One call, and one per payment. By number: Square has no search for it, so the newest orders of our places are gone
        through, 200 a call; an order without a number goes by its id.
        """
        order_id = ref.order_id
        if not order_id:
            match self._find_by_number(ref.number):
                case str() as order_id:
                    pass
                case no:
                    return no
        match self._book("read_order", order_id):
            case Book() as book if book.order.is_return:
                return Permanent("is_a_return", f"{order_id} stands for a refund of another order")
            case Book() as book:
                return order_facts(book)
            case no:
                return no

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """By the lines' own totals, as Square spread taxes and discounts over them."""
        match self._order("quote_lines", order.order_id):
            case Order() as found:
                return quote(found, lines)
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Looks, then updates once; an order that changed in between is read and judged again, a few times. One that may not
        be CANCELED after all (a payment that it does not show) is fenced only.
        """
        may_close = True
        for _ in range(_MOST_ROUNDS):
            match look_first(lambda: self._book("cancel_order", command.order_id)):
                case Book() as book:
                    move = decide_cancel(book, may_close=may_close)
                case no:
                    return no
            if not isinstance(move, Update):
                return move
            response = self.http.send(update_request(move, command))
            code, where = refusal_in(response)
            if code == "VERSION_MISMATCH":
                continue
            if code == "BAD_REQUEST" and where == "order.state" and move.closes:
                may_close = False
                continue
            return read_update(response, move, command)
        return Retryable(
            "unavailable", f"order {command.order_id} kept changing while it was being cancelled"
        )

    def find_cancel_order(self, command: CancelOrder) -> Found:
        match self._book("find_cancel_order", command.order_id):
            case Book() as book:
                return judge_cancel(book, command)
            case no:
                return uncertain(no)

    def restock(self, command: Restock) -> Outcome:
        """Looks for our reference among the movements of the articles, then writes one movement per article."""
        match look_first(lambda: self._shelf("restock", command)):
            case Shelf() as shelf:
                told = judge_shelf(shelf, command)
            case no:
                return no
        if not isinstance(told, NotFound):
            return told
        if not shelf.is_paid:
            return Permanent(
                "never_sold",
                "Square takes stock away when an order is paid, and this one never was: compare the stock in the dashboard",
            )
        return read_restock(self.http.send(restock_request(shelf, command, self.now())), shelf, command)

    def find_restock(self, command: Restock) -> Found:
        match self._shelf("find_restock", command):
            case Shelf() as shelf:
                return judge_shelf(shelf, command)
            case no:
                return uncertain(no)

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Two calls for a captured payment, and one per refund of it (more where there are many disputes); one for any other.
        `order_id` is not needed.
        """
        match self._money("read_payment", payment_reference):
            case MoneyBook() as book:
                facts = payment_facts(book)
            case no:
                return no
        if not isinstance(facts, PaymentFacts) or facts.state is not PaymentState.CAPTURED:
            return facts
        match self._pages(lambda cursor: disputes_request(book.payment.location, cursor), "disputes"):
            case list() as disputes:
                return add_disputes(facts, disputes)
            case no:
                return no

    def refund(self, command: Refund) -> Outcome:
        """Looks at the payment and its refunds first: ours may be there, or nothing may be left."""
        match look_first(lambda: self._money("refund", command.payment_reference)):
            case MoneyBook() as book:
                told = before_refund(book, command)
            case no:
                return no
        return told or read_refund(self.http.send(refund_request(command)), command)

    def find_refund(self, command: Refund) -> Found:
        match self._money("find_refund", command.payment_reference):
            case MoneyBook() as book:
                return judge_refunds(book, command)
            case no:
                return uncertain(no)

    def void_payment(self, command: VoidPayment) -> Outcome:
        if not is_id(command.payment_reference):
            return _unknown_reference(command.payment_reference)
        return read_void(self.http.send(void_request(command)), command)

    def find_void_payment(self, command: VoidPayment) -> Found:
        match self._payment("find_void_payment", command.payment_reference):
            case Payment() as payment:
                return judge_void(payment, command)
            case no:
                return uncertain(no)

    def _order(self, operation: str, order_id: str) -> Order | NotFound | NoAnswer:
        if not is_id(order_id):
            return _unknown_reference(order_id)
        return read_order(self.http.send(order_request(operation, order_id)), order_id)

    def _payment(self, operation: str, payment_id: str) -> Payment | NotFound | NoAnswer:
        if not is_id(payment_id):
            return _unknown_reference(payment_id)
        return read_payment(self.http.send(payment_request(operation, payment_id)), payment_id)

    def _book(self, operation: str, order_id: str) -> Book | NotFound | NoAnswer:
        order = self._order(operation, order_id)
        if not isinstance(order, Order):
            return order
        payments: list[Payment] = []
        for payment_id in dict.fromkeys(t.payment_id for t in order.tenders if t.payment_id):
            match self._payment(operation, payment_id):
                case Payment() as payment:
                    payments.append(payment)
                case NotFound():
                    return Unknown(f"payment {payment_id} of order {order_id} is not there")
                case no:
                    return no
        return Book(order, tuple(payments))

    def _money(self, operation: str, payment_id: str) -> MoneyBook | NotFound | NoAnswer:
        payment = self._payment(operation, payment_id)
        if not isinstance(payment, Payment):
            return payment
        if len(payment.refund_ids) > _MOST_REFUNDS:
            return Unknown(
                f"payment {payment_id} has more than {_MOST_REFUNDS} refunds: not all are looked at"
            )
        refunds: list[RefundObject] = []
        for refund_id in payment.refund_ids:
            if not is_id(refund_id):
                return Unknown(f"payment {payment_id} names a refund that cannot be asked for")
            match read_refund_answer(self.http.send(refund_look_request(operation, refund_id)), refund_id):
                case RefundObject(payment_id=of) as refund if of == payment_id:
                    refunds.append(refund)
                case RefundObject():
                    return Unknown(f"refund {refund_id} is not of payment {payment_id}")
                case no:
                    return no
        return MoneyBook(payment, tuple(refunds))

    def _shelf(self, operation: str, command: Restock) -> Shelf | NotFound | NoAnswer:
        """The units as articles, and what moved of these since the case was opened."""
        if command.carried_by:
            return Permanent(
                "not_carried",
                "nothing of Square's puts units back by itself: raise the stock in the dashboard",
            )
        if not command.order_id:
            return Permanent(
                "foreign_order",
                "Square knows stock by its catalogue's ids, and not by SKU. Raise it in the dashboard, then resolve this step: "
                + (", ".join(f"{i.quantity} x {i.sku}" for i in command.items) or "the units of this order"),
            )
        book = self._book(operation, command.order_id)
        if not isinstance(book, Book):
            return book
        wanted = articles_of(book.order, command.lines)
        if isinstance(wanted, Permanent):
            return wanted
        location = command.location or book.order.location
        if not wanted:
            return Shelf(location, wanted, (), book)
        since = opened_at(command.step_key)
        begin = datetime.fromtimestamp(since, UTC) - timedelta(hours=1) if since else None
        match self._pages(
            lambda cursor: changes_request(operation, wanted, location, begin, cursor), "changes"
        ):
            case list() as changes:
                moved = read_changes(changes)
            case no:
                return no
        if moved is None:
            return Unknown("the movements of stock cannot be read")
        return Shelf(location, wanted, moved, book)

    def _find_by_number(self, number: str) -> str | NotFound | NoAnswer:
        wanted = number.lstrip("#")
        if not wanted:
            return Permanent("no_reference", "neither an order id nor an order number was given")
        if self.locations:
            since = self.now() - timedelta(days=self.search_days)
            match self._pages(lambda cursor: search_request(self.locations, since, cursor), "orders"):
                case list() as orders:
                    found = pick_by_number(orders, wanted)
                case Unknown(reason=reason):
                    return Unknown(f"could not search for order {number}: {reason}")
                case no:
                    return no
            if not isinstance(found, NotFound):
                return found
        if not is_id(wanted):
            return _no_such_number(number, self.locations, self.search_days)
        match self._order("find_order", wanted):
            case Order(order_id=order_id):
                return order_id
            case NotFound():
                return _no_such_number(number, self.locations, self.search_days)
            case no:
                return no

    def _pages(self, request: Callable[[str], Request], name: str) -> list[Any] | NoAnswer:
        """Every object of a list, over all its pages, or why it could not be had whole."""
        objects: list[Any] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            page = read_page(self.http.send(request(cursor)), name)
            if not isinstance(page, Page):
                return page
            objects += page.objects
            if not page.cursor:
                return objects
            cursor = page.cursor
        return Unknown(f"the list of {name} goes on after {_MOST_PAGES} pages")


@dataclass(frozen=True, slots=True)
class Shelf:
    """`wanted`: quantity per article, empty where none of the units is in the catalogue; `moved`: what came onto the shelf."""

    location: str
    wanted: Mapping[str, Decimal]
    moved: tuple[Adjustment, ...]
    book: Book

    @property
    def is_paid(self) -> bool:
        return self.book.is_paid


@dataclass(frozen=True, slots=True)
class Update:
    """What a cancel sends. `fulfilments`: uids to cancel; `closes`: the order's state too; `notes`: with our note."""

    order: Order
    version: int
    fulfilments: tuple[str, ...]
    closes: bool
    notes: bool


def is_id(text: str) -> bool:
    """Whether a text is an id of Square's, and may be put into a path."""
    return re.fullmatch(r"[A-Za-z0-9_\-]{1,255}", text, re.ASCII) is not None


def _unknown_reference(reference: str) -> Permanent:
    return Permanent("unknown_reference", f"{reference!r} is no id of Square's")


def _no_such_number(number: str, locations: tuple[str, ...], days: int) -> NotFound | Permanent:
    if not locations:
        return Permanent(
            "no_location",
            f"order {number} cannot be searched for: set REFUNDFLOW_SQUARE_LOCATION_IDS, or give Square's order id",
        )
    return NotFound(0.0, f"no order of the last {days} days has the number {number}")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_request() -> Request:
    return Request("GET", "/v2/refunds", "square.check", params=[("limit", "1")])


def order_request(operation: str, order_id: str) -> Request:
    return Request("GET", f"/v2/orders/{order_id}", f"square.{operation}", total_s=_LOOK_S)


def payment_request(operation: str, payment_id: str) -> Request:
    return Request("GET", f"/v2/payments/{payment_id}", f"square.{operation}", total_s=_LOOK_S)


def refund_look_request(operation: str, refund_id: str) -> Request:
    return Request("GET", f"/v2/refunds/{refund_id}", f"square.{operation}", total_s=_LOOK_S)


def disputes_request(location: str, cursor: str) -> Request:
    """All states: the filter's form for several is not described."""
    params = [("location_id", location)] if location else []
    return Request(
        "GET",
        "/v2/disputes",
        "square.list_disputes",
        params=[*params, *([("cursor", cursor)] if cursor else [])],
    )


def search_request(locations: Iterable[str], since: datetime, cursor: str) -> Request:
    """The newest first. The filter and the sort must name the same time."""
    return Request(
        "POST",
        "/v2/orders/search",
        "square.find_order",
        json={
            "location_ids": list(locations),
            "query": {
                "filter": {"date_time_filter": {"created_at": {"start_at": stamp(since)}}},
                "sort": {"sort_field": "CREATED_AT", "sort_order": "DESC"},
            },
            "limit": 200,
            **({"cursor": cursor} if cursor else {}),
        },
    )


def update_request(update: Update, command: CancelOrder) -> Request:
    """The key names the version and whether the order is closed: what is sent for another one is another request."""
    kind = "close" if update.closes else "fence"
    return Request(
        "PUT",
        f"/v2/orders/{update.order.order_id}",
        "square.cancel_order",
        json={
            "idempotency_key": short_key(f"{command.key}:{kind}:{update.version}", 192),
            "order": {
                "location_id": update.order.location,
                "version": update.version,
                **({"state": "CANCELED"} if update.closes else {}),
                **(
                    {"fulfillments": [{"uid": uid, "state": "CANCELED"} for uid in update.fulfilments]}
                    if update.fulfilments
                    else {}
                ),
                **({"metadata": {NOTE: command.step_key}} if update.notes else {}),
            },
        },
    )


def refund_request(command: Refund) -> Request:
    """The same command makes the same body: a key is good for one body only."""
    return Request(
        "POST",
        "/v2/refunds",
        "square.refund",
        json={
            "idempotency_key": refund_key(command.key),
            "payment_id": command.payment_reference,
            "amount_money": {"amount": command.amount.minor, "currency": command.amount.currency},
            "reason": refund_reason(command),
        },
    )


def void_request(command: VoidPayment) -> Request:
    """Without a body: none is described."""
    return Request("POST", f"/v2/payments/{command.payment_reference}/cancel", "square.void_payment")


def changes_request(
    operation: str, articles: Iterable[str], location: str, since: datetime | None, cursor: str
) -> Request:
    return Request(
        "POST",
        "/v2/inventory/changes/batch-retrieve",
        f"square.{operation}",
        json={
            "catalog_object_ids": sorted(articles),
            "location_ids": [location],
            "types": ["ADJUSTMENT"],
            **({"updated_after": stamp(since)} if since else {}),
            **({"cursor": cursor} if cursor else {}),
        },
        total_s=_LOOK_S,
    )


def restock_request(shelf: Shelf, command: Restock, now: datetime) -> Request:
    """A repeat is dated anew, so that under a key that is still honoured Square refuses it: then it is looked up."""
    return Request(
        "POST",
        "/v2/inventory/changes/batch-create",
        "square.restock",
        json={
            "idempotency_key": short_key(command.key, 128),
            "changes": [
                {
                    "type": "ADJUSTMENT",
                    "adjustment": {
                        "reference_id": command.step_key,
                        "catalog_object_id": article,
                        "location_id": shelf.location,
                        "from_state": "UNLINKED_RETURN",
                        "to_state": "IN_STOCK",
                        "quantity": f"{amount:f}",
                        "occurred_at": stamp(now - _CLOCK_MARGIN),
                    },
                }
                for article, amount in sorted(shelf.wanted.items())
            ],
        },
    )


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refund_key(key: str) -> str:
    """Our wire key in the 45 bytes that a refund's may have. Never to be changed: a repeat must carry the first one's key."""
    return "rf-" + hashlib.sha256(key.encode()).hexdigest()[: _REFUND_KEY_BYTES - 5]


def short_key(key: str, most_bytes: int) -> str:
    return key if len(key.encode()) <= most_bytes else refund_key(key)


def refund_reason(command: Refund) -> str:
    """Our reference; after a definite no, the reason of the next try says so."""
    number = key_number(command.key)
    return f"refundflow {command.step_key}" + (f" try {number}" if number > 1 else "")


def key_number(key: str) -> int:
    """The number at the end of a wire key, 1 where it has none."""
    number = key.rpartition(":")[2]
    return int(number) if number.isdecimal() else 1


# ---------------------------------------------------------------------------------------------------------------------
# Readers


def _text(value: Any, name: str) -> str:
    """A text of an object, empty where it is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _list(value: Mapping[str, Any], name: str) -> list[Any] | None:
    """A list of an object; empty lists are left out of answers. None for something else."""
    found = value.get(name)
    return [] if found is None else found if isinstance(found, list) else None


def _money(value: Any) -> Money | None:
    match value:
        case {"amount": bool()}:
            return None
        case {"amount": int(minor), "currency": str(currency)} if re.fullmatch(r"[A-Z]{3}", currency):
            return Money(minor, currency)
        case _:
            return None


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _amount(text: Any) -> Decimal | None:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text, re.ASCII):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def read_health(response: Response) -> Health:
    """An account without refunds answers `{}`: then the version header says that it was Square."""
    match response.status, response.json:
        case 200, {"refunds": list()}:
            return Health(
                True, f"the token is accepted; API {response.headers.get('square-version', 'unknown')}"
            )
        case 200, {**rest} if not rest and (version := response.headers.get("square-version")):
            return Health(True, f"the token is accepted; API {version}; no refunds yet")
        case _:
            return Health(False, read_failure(response).reason)


def read_page(response: Response, name: str) -> Page | NoAnswer:
    match response.status, response.json:
        case 200, dict(body) if not set(body) - {name, "cursor"}:
            objects, cursor = _list(body, name), body.get("cursor") or ""
            if objects is not None and isinstance(cursor, str):
                return Page(objects, cursor)
            return Unknown(f"the list of {name} cannot be read")
        case _:
            return read_failure(response)


def _is_missing(response: Response) -> bool:
    return response.status == 404 and refusal_in(response)[0] == "NOT_FOUND"


def read_order(response: Response, order_id: str) -> Order | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"order": {"id": str(found)} as value} if found == order_id:
            return read_order_object(value) or Unknown(f"order {order_id} cannot be read")
        case _ if _is_missing(response):
            return NotFound(0.0, f"no order {order_id} in this account")
        case _:
            return read_failure(response)


def read_order_object(value: Mapping[str, Any]) -> Order | None:
    """An order, or None where something that matters cannot be read."""
    total = _money(value.get("total_money"))
    created, changed = _time(_text(value, "created_at")), _time(_text(value, "updated_at"))
    closed = _time(_text(value, "closed_at"))
    state, location = _text(value, "state"), _text(value, "location_id")
    version, metadata = value.get("version"), value.get("metadata")
    metadata = {} if metadata is None else metadata
    lists = [_list(value, name) for name in ("line_items", "fulfillments", "tenders", "returns")]
    if total is None or created is None or not state or not location or not isinstance(metadata, dict):
        return None
    if any(each is None for each in lists) or (version is not None and type(version) is not int):
        return None
    lines = [_line(each, total.currency) for each in lists[0] or ()]
    fulfilments = [_fulfilment(each) for each in lists[1] or ()]
    tenders = [_tender(each) for each in lists[2] or ()]
    if None in lines or None in fulfilments or None in tenders:
        return None
    return Order(
        order_id=_text(value, "id"),
        location=location,
        version=version,
        number=_text(value, "reference_id"),
        state=state,
        created_at=created,
        changed_at=(closed if state == "CANCELED" else None) or changed or created,
        total=total,
        lines=tuple(each for each in lines if each is not None),
        fulfilments=tuple(each for each in fulfilments if each is not None),
        tenders=tuple(each for each in tenders if each is not None),
        cancelled_by=_text(metadata, NOTE),
        # Square's own entries have a namespace before a colon, and do not count.
        notes=sum(":" not in name for name in metadata),
        is_return=bool(lists[3]) and not lines,
    )


def _line(value: Any, currency: str) -> Line | None:
    uid, amount = _text(value, "uid"), _amount(value.get("quantity") if isinstance(value, dict) else None)
    if not uid or amount is None:
        return None
    total = _money(value.get("total_money"))
    if total is None or total.currency != currency:
        return None
    is_counted = amount == amount.to_integral_value() and value.get("quantity_unit") is None
    title = " ".join(t for t in (_text(value, "name"), _text(value, "variation_name")) if t)
    units = int(amount) if is_counted else 1
    return Line(uid, title, units, amount, total.minor, _text(value, "catalog_object_id"))


def _fulfilment(value: Any) -> Fulfilment | None:
    uid, state = _text(value, "uid"), _text(value, "state")
    if not uid or not state:
        return None
    units: dict[str, Decimal] | None = None
    if _text(value, "line_item_application") == "ENTRY_LIST":
        units = {}
        entries = _list(value, "entries")
        if entries is None:
            return None
        for entry in entries:
            line, amount = _text(entry, "line_item_uid"), _amount(entry.get("quantity") if entry else None)
            if not line or amount is None:
                return None
            units[line] = units.get(line, Decimal(0)) + amount
    recipients = [
        recipient
        for name in ("shipment_details", "pickup_details", "delivery_details")
        if isinstance(details := value.get(name), dict)
        and isinstance(recipient := details.get("recipient"), dict)
    ]
    person = recipients[0] if recipients else {}
    return Fulfilment(uid, state, units, _text(person, "email_address"), _text(person, "display_name"))


def _tender(value: Any) -> OrderTender | None:
    kind = _text(value, "type")
    amount = _money(value.get("amount_money")) if kind else None
    if amount is None:
        return None
    return OrderTender(
        _text(value, "id"),
        _text(value, "payment_id"),
        kind,
        _text(value.get("card_details"), "status"),
        amount,
    )


def read_payment(response: Response, payment_id: str) -> Payment | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"payment": {"id": str(found)} as value} if found == payment_id:
            return read_payment_object(value) or Unknown(f"payment {payment_id} cannot be read")
        case _ if _is_missing(response):
            return NotFound(0.0, f"no payment {payment_id} in this account")
        case _:
            return read_failure(response)


def read_payment_object(value: Mapping[str, Any]) -> Payment | None:
    total = _money(value.get("total_money") or value.get("amount_money"))
    refunded = _money(value["refunded_money"]) if value.get("refunded_money") is not None else None
    created, ids = _time(_text(value, "created_at")), _list(value, "refund_ids")
    status = _text(value, "status")
    if total is None or created is None or ids is None or not status:
        return None
    if value.get("refunded_money") is not None and (refunded is None or refunded.currency != total.currency):
        return None
    if not all(isinstance(each, str) for each in ids):
        return None
    card = value.get("card_details")
    brand = _text(card.get("card"), "card_brand") if isinstance(card, dict) else ""
    outside = value.get("external_details")
    return Payment(
        payment_id=_text(value, "id"),
        status=status,
        source=_text(value, "source_type"),
        total=total,
        refunded=refunded.minor if refunded else 0,
        refund_ids=tuple(ids),
        order_id=_text(value, "order_id"),
        number=_text(value, "reference_id"),
        location=_text(value, "location_id"),
        created_at=created,
        email=_text(value, "buyer_email_address"),
        kind=_text(outside, "type"),
        outside_id=_text(outside, "source_id"),
        is_gift_card=brand == "SQUARE_GIFT_CARD",
    )


_REFUND_STATUSES: Final[Mapping[str, RefundStatus]] = {
    "PENDING": RefundStatus.PENDING,
    "COMPLETED": RefundStatus.SUCCEEDED,
    "REJECTED": RefundStatus.FAILED,
    "FAILED": RefundStatus.FAILED,
}


def read_refund_object(value: Any) -> RefundObject | None:
    match value:
        case {"id": str(reference), "amount_money": dict(money)} if reference:
            amount = _money(money)
            if amount is None:
                return None
            word, ours = _text(value, "status"), read_reason(_text(value, "reason"))
            return RefundObject(
                reference, _text(value, "payment_id"), amount, _REFUND_STATUSES.get(word), word, *ours
            )
        case _:
            return None


def read_reason(reason: str) -> tuple[str, int]:
    """The step and the try that a reason of ours names; nothing and 0 for anybody else's."""
    found = re.fullmatch(r"refundflow (\S{1,120})(?: try ([0-9]{1,6}))?", reason, re.ASCII)
    return (found[1], int(found[2] or 1)) if found else ("", 0)


def read_refund_answer(response: Response, refund_id: str) -> RefundObject | NoAnswer:
    match response.status, response.json:
        case 200, {"refund": {"id": str(found)} as value} if found == refund_id:
            return read_refund_object(value) or Unknown(f"refund {refund_id} cannot be read")
        case _ if _is_missing(response):
            return Unknown(f"refund {refund_id} is named by its payment and is not there")
        case _:
            return read_failure(response)


def read_changes(changes: Iterable[Any]) -> tuple[Adjustment, ...] | None:
    """What came onto the shelf, or None where a movement cannot be read: it might be ours."""
    moved: list[Adjustment] = []
    for change in changes:
        match change:
            case {"type": "ADJUSTMENT", "adjustment": {"to_state": "IN_STOCK"} as value}:
                amount, article = _amount(value.get("quantity")), _text(value, "catalog_object_id")
                if amount is None or not article:
                    return None
                moved.append(
                    Adjustment(
                        _text(value, "id"),
                        article,
                        amount,
                        _text(value, "reference_id"),
                        _text(value, "refund_id"),
                    )
                )
            case {"type": "ADJUSTMENT", "adjustment": {"to_state": str()}} | {
                "type": "PHYSICAL_COUNT" | "TRANSFER"
            }:
                continue
            case _:
                return None
    return tuple(moved)


def pick_by_number(orders: Iterable[Any], number: str) -> str | NotFound | NoAnswer:
    """The only order of that number. Orders that stand for a refund do not count."""
    found = dict.fromkeys(
        _text(each, "id")
        for each in orders
        if _text(each, "reference_id").lstrip("#") == number and not each.get("returns")
    )
    match list(found):
        case []:
            return NotFound(0.0, f"no order has the number {number}")
        case [order_id] if order_id:
            return order_id
        case [_]:
            return Unknown("an order of that number has no id")
        case several:
            return Permanent(
                "ambiguous", f"{len(several)} orders have the number {number}: {', '.join(several)}"
            )


# ---------------------------------------------------------------------------------------------------------------------
# Orders


def order_facts(book: Book) -> OrderFacts:
    order = book.order
    person = next((f for f in order.fulfilments if f.email), None) or next(iter(order.fulfilments), None)
    payer_email = next((p.email for p in book.payments if p.email), "")
    is_cancelled = order.state == "CANCELED" or (order.is_fenced and book.has_given_back_all)
    return OrderFacts(
        platform=SPEC.platform,
        order_id=order.order_id,
        number=order.number or order.order_id,
        created_at=order.created_at,
        currency=order.total.currency,
        total=order.total,
        email=(person.email if person else "") or payer_email,
        lines=tuple(_order_line(order, line) for line in order.lines),
        payments=order_payments(book),
        cancelled_at=order.changed_at if is_cancelled else None,
        location=order.location,
        customer_name=person.name if person else "",
        cancels=TakesBack.CALL,
        cancels_lines=TakesBack.PERSON,
        cancel_refusal="" if is_cancelled else cancel_refusal(order),
        is_restock_carried=False,
        records_refunds=False,
        releases_authorisations=False,
        # Square takes units out of stock when an order is paid.
        is_stock_taken=book.is_paid,
    )


def _order_line(order: Order, line: Line) -> OrderLine:
    unfulfilled = line.units - shipped_units(order, line)
    unit = Money(line.total // line.units if line.units else 0, order.total.currency)
    # Refunds here are amounts without lines: which units they were for is not known, what is left of the money is.
    return OrderLine(line.uid, line.article, line.title, line.units, unfulfilled, line.units, unit)


def shipped_units(order: Order, line: Line) -> int:
    """Units that left. A closed order without fulfilments was handed over at the counter."""
    if not order.fulfilments:
        return line.units if order.state == "COMPLETED" else 0
    if any(f.units is None for f in order.shipped):
        return line.units
    left = sum(((f.units or {}).get(line.uid, Decimal(0)) for f in order.shipped), Decimal(0))
    if line.amount != line.units:  # one unit that is measured: gone when any of it is
        return 1 if left else 0
    return min(line.units, int(left.to_integral_value(ROUND_CEILING)))


def cancel_refusal(order: Order) -> str:
    """Why Square, or our own care, would not cancel the order now, in words for people; empty where it would."""
    if order.is_fenced:
        return ""
    if order.failed:
        return "a fulfilment of it FAILED: find out where the goods are"
    if order.fulfilments and not order.open:
        return ""  # all shipped: that is a return
    if order.state not in ("OPEN", "DRAFT"):
        return f"it is {order.state} at Square and can no longer be changed" if order.fulfilments else ""
    if order.version is None:
        return "it was made outside Square's API, which then cannot change it: cancel its fulfilments in the dashboard"
    return ""


_GATEWAYS: Final[Mapping[str, tuple[str, Tender]]] = {
    **dict.fromkeys(("CARD", "WALLET", "BANK_ACCOUNT", "BUY_NOW_PAY_LATER"), ("square", Tender.CARD)),
    "SQUARE_GIFT_CARD": ("square_gift_card", Tender.GIFT_CARD),
    "SQUARE_ACCOUNT": ("square_account", Tender.STORE_CREDIT),
    "THIRD_PARTY_CARD": ("third_party_card", Tender.CARD),
    "CASH": ("cash", Tender.CARD),
    "EXTERNAL": ("external", Tender.CARD),
}
_OUTSIDE_TENDERS: Final[Mapping[str, Tender]] = {
    "OTHER_GIFT_CARD": Tender.GIFT_CARD,
    "STORED_BALANCE": Tender.STORE_CREDIT,
}


def order_payments(book: Book) -> tuple[OrderPayment, ...]:
    """What paid for the order, or holds money for it; what was released or failed is left out."""
    by_id = {p.payment_id: p for p in book.payments}
    payments: list[OrderPayment] = []
    for tender in book.order.tenders:
        payment = by_id.get(tender.payment_id)
        if payment is None:
            if tender.kind == "NO_SALE" or tender.card_status in ("VOIDED", "FAILED"):
                continue
            gateway, means = _GATEWAYS.get(tender.kind, ("other", Tender.CARD))
            is_captured = tender.card_status in ("", "CAPTURED")
            payments.append(OrderPayment(tender.tender_id, gateway, "", is_captured, tender.amount, means))
        elif payment.status not in ("CANCELED", "FAILED"):
            gateway, means = gateway_of(payment)
            provider = payment.outside_id if payment.source == "EXTERNAL" else payment.payment_id
            payments.append(
                OrderPayment(
                    payment.payment_id, gateway, provider, payment.status == "COMPLETED", payment.total, means
                )
            )
    return tuple(payments)


def gateway_of(payment: Payment) -> tuple[str, Tender]:
    source = "SQUARE_GIFT_CARD" if payment.is_gift_card else payment.source
    gateway, means = _GATEWAYS.get(source, ("other", Tender.CARD))
    return gateway, _OUTSIDE_TENDERS.get(payment.kind, means)


def quote(order: Order, lines: Iterable[LineQuantity]) -> Money | Permanent:
    known = {line.uid: line for line in order.lines}
    worth = 0
    for wanted in lines:
        line = known.get(wanted.line_id)
        if line is None or not 0 < wanted.quantity <= line.units:
            return Permanent(
                "unknown_line", f"order {order.order_id} has no {wanted.quantity} units of {wanted.line_id!r}"
            )
        # Half a minor unit goes to the customer.
        worth += (2 * line.total * wanted.quantity + line.units) // (2 * line.units)
    return Money(worth, order.total.currency)


def decide_cancel(book: Book, *, may_close: bool = True) -> Update | Outcome:
    """What is left to do for our rule, or why nothing is. `may_close`: whether the state may be tried."""
    order = book.order
    if order.is_return:
        return Permanent("is_a_return", f"{order.order_id} stands for a refund of another order")
    if order.state == "CANCELED":
        return AlreadyDone(order.order_id)
    if order.shipped:
        return Permanent(
            "fulfilled", f"{len(order.shipped)} fulfilments of the order are COMPLETED: it was shipped"
        )
    closes = may_close and order.may_be_cancelled and book.is_untouched_by_money
    if order.is_fenced and not closes:
        return AlreadyDone(order.order_id, _how(order))
    if order.state not in ("OPEN", "DRAFT"):
        return Permanent("order_closed", f"the order is {order.state}: Square does not change it any more")
    if order.version is None:
        return Permanent(
            "no_version", "the order was made outside Square's API: cancel its fulfilments in the dashboard"
        )
    to_cancel = tuple(f.uid for f in order.open)
    notes = bool(order.cancelled_by) or order.notes < _MOST_NOTES
    if not notes and not to_cancel and not closes:
        return Permanent(
            "no_room", f"the order's metadata is full: remove an entry, so that {NOTE} can be written"
        )
    return Update(order, order.version, to_cancel, closes, notes)


def read_update(response: Response, update: Update, command: CancelOrder) -> Outcome:
    """By the order in the answer alone: names that Square does not know were passed over."""
    match response.status, response.json:
        case 200, {"order": {"id": str(found)} as value} if found == update.order.order_id:
            order = read_order_object(value)
        case _:
            return read_failure(response)
    if order is None:
        return Unknown("the updated order cannot be read")
    is_ours = not update.notes or order.cancelled_by == command.step_key
    if order.state == "CANCELED" or (order.is_fenced and is_ours and not update.closes):
        return Done(order.order_id, _how(order))
    return Unknown("Square took the update, and the order does not show all of it")


def judge_cancel(book: Book, command: CancelOrder) -> Found:
    order = book.order
    if order.state == "CANCELED" or order.is_fenced:
        is_ours = order.cancelled_by == command.step_key
        if (
            order.state != "CANCELED"
            and not is_ours
            and order.may_be_cancelled
            and book.is_untouched_by_money
        ):
            return NotFound(
                ORDER_SETTLED_S, "its fulfilments are cancelled, and the unpaid order is still open"
            )
        return Done(order.order_id, _how(order)) if is_ours else AlreadyDone(order.order_id, _how(order))
    if order.shipped:
        return Permanent("fulfilled", "a fulfilment of the order is COMPLETED: it was shipped")
    return NotFound(ORDER_SETTLED_S, f"the order is {order.state}, and can still be shipped")


def _how(order: Order) -> str:
    if order.state == "CANCELED":
        return "the order is CANCELED"
    if any(f.state == "CANCELED" for f in order.fulfilments):
        return f"its fulfilments are CANCELED, the order stays {order.state}"
    return "only noted: the order has no fulfilment that could be cancelled"


# ---------------------------------------------------------------------------------------------------------------------
# Stock


def articles_of(order: Order, lines: Iterable[LineQuantity]) -> Mapping[str, Decimal] | Permanent:
    """The units as articles of the catalogue; lines that are none (an amount of money) have no stock and are left out."""
    known = {line.uid: line for line in order.lines}
    wanted: dict[str, Decimal] = {}
    for each in lines:
        line = known.get(each.line_id)
        if line is None or not 0 < each.quantity <= line.units:
            return Permanent(
                "unknown_line",
                f"order {order.order_id} has no {each.quantity} units of {each.line_id!r}: raise the stock in the dashboard",
            )
        if line.article:
            amount = line.amount if each.quantity == line.units else Decimal(each.quantity)
            wanted[line.article] = wanted.get(line.article, Decimal(0)) + amount
    return wanted


def judge_shelf(shelf: Shelf, command: Restock) -> Found:
    """By our reference; and where Square itself put the units back with a refund, that counts, and is never repeated."""
    if not shelf.wanted:
        return AlreadyDone(
            command.order_id, "none of the units is an article of the catalogue: no stock to raise"
        )
    ours = [m for m in shelf.moved if m.our_reference == command.step_key]
    theirs = [m for m in shelf.moved if m.refund_id and m.refund_id in shelf.book.refund_ids]
    wanted, by_us, by_square = dict(shelf.wanted), _sums(ours), _sums(theirs)
    if by_us and by_square:
        return Permanent(
            "done_twice", f"we and Square's refund both put units back: {_told([*ours, *theirs])}"
        )
    if by_us == wanted:
        return Done(ours[0].reference, _told(ours))
    if by_us:
        return Permanent("restock_mismatch", f"asked for {_words(wanted)}, Square has {_told(ours)}")
    if by_square == wanted:
        return AlreadyDone(theirs[0].reference, f"Square put them back with refund {theirs[0].refund_id}")
    if by_square:
        return Permanent(
            "restock_mismatch", f"asked for {_words(wanted)}; Square's refund put back {_told(theirs)}"
        )
    return NotFound(STOCK_SETTLED_S, "no movement of these articles carries our reference")


def read_restock(response: Response, shelf: Shelf, command: Restock) -> Outcome:
    match response.status, response.json:
        case 200, {"changes": list(changes)} as body if not body.get("errors"):
            moved = read_changes(changes)
        case _:
            return read_failure(response)
    ours = [m for m in moved or () if m.our_reference == command.step_key]
    if moved is None or not ours:
        return Unknown("Square took the movements, and does not show ours")
    if _sums(ours) != dict(shelf.wanted):
        return Permanent("restock_mismatch", f"asked for {_words(shelf.wanted)}, Square has {_told(ours)}")
    return Done(ours[0].reference, _told(ours))


def _sums(moved: Iterable[Adjustment]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for each in moved:
        sums[each.article] = sums.get(each.article, Decimal(0)) + each.amount
    return sums


def _told(moved: Iterable[Adjustment]) -> str:
    return ", ".join(f"{m.amount:f} x {m.article} ({m.reference})" for m in moved)


def _words(wanted: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{amount:f} x {article}" for article, amount in wanted.items())


# ---------------------------------------------------------------------------------------------------------------------
# Money


def payment_facts(book: MoneyBook) -> PaymentFacts | NoAnswer:
    """The payment without its disputes."""
    payment = book.payment
    nothing = Money(0, payment.total.currency)
    match payment.status:
        case "COMPLETED":
            state = PaymentState.CAPTURED
        case "APPROVED":
            state = PaymentState.AUTHORISED
        case "CANCELED":
            state = PaymentState.VOIDED
        case "FAILED":
            state = PaymentState.NOT_PAID
        case "PENDING":
            # Neither paid nor unpaid: calling it unpaid would close a case whose money arrives tomorrow.
            return Retryable("unavailable", f"payment {payment.payment_id} is still pending", 900.0)
        case word:
            return Unknown(f"payment {payment.payment_id} has a status that we do not know: {word:.60}")
    if any(r.amount.currency != payment.total.currency for r in book.refunds):
        return Unknown("a refund is in another currency than its payment")
    gateway, means = gateway_of(payment)
    # One whose status we do not know counts as on its way: its money may be gone.
    refunds = [
        RefundFact(r.reference, r.amount, r.status or RefundStatus.PENDING, r.step_key) for r in book.refunds
    ]
    if book.unlisted:
        gone = Money(book.unlisted, payment.total.currency)
        refunds.append(RefundFact(f"{payment.payment_id}:unlisted", gone, RefundStatus.SUCCEEDED))
    return PaymentFacts(
        platform=SPEC.platform,
        reference=payment.payment_id,
        state=state,
        authorised=payment.total if state is PaymentState.AUTHORISED else nothing,
        captured=payment.total if state is PaymentState.CAPTURED else nothing,
        refunds=tuple(refunds),
        gateway=gateway,
        tender=means,
        refundable_until=payment.created_at + _REFUND_WINDOW,
        # By its own order's id where the shop wrote no number on it: read_order takes that as well.
        order_number=payment.number or payment.order_id,
        refund_refusal=refund_refusal(book),
    )


_OFFLINE: Final = ("CASH", "EXTERNAL")


def refund_refusal(book: MoneyBook) -> str:
    """Why no money can go back by Square, in words for people; empty where it can, as far as is known."""
    if book.payment.source in _OFFLINE:
        return f"it was paid by {book.payment.source}, which Square only writes down: give it back by hand and record it there"
    failed = [r for r in book.refunds if r.status is RefundStatus.FAILED]
    if failed:
        return f"refund {failed[0].reference} of it ended as {failed[0].word}, and is not repeated on the same payment"
    return ""


def dispute_state(word: str) -> DisputeState:
    """A word that is new to us counts as open: nothing is refunded until a person has read it."""
    match word:
        case "WON":
            return DisputeState.WON
        case "LOST" | "ACCEPTED":
            return DisputeState.LOST
        case "INQUIRY_CLOSED":
            return DisputeState.NONE
        case "INQUIRY_EVIDENCE_REQUIRED" | "INQUIRY_PROCESSING":
            return DisputeState.WARNING
        case _:
            return DisputeState.OPEN


#: From harmless to the one that forbids a refund for sure: of several disputes the gravest speaks.
_GRAVITY: Final = (
    DisputeState.NONE,
    DisputeState.WON,
    DisputeState.WARNING,
    DisputeState.LOST,
    DisputeState.OPEN,
)


def add_disputes(facts: PaymentFacts, disputes: Iterable[Any]) -> PaymentFacts | Unknown:
    """The payment with the gravest of its disputes; those of other payments are passed over."""
    seen: list[tuple[DisputeState, str]] = []
    for value in disputes:
        match value:
            case {"disputed_payment": {"payment_id": str(payment_id)}} if payment_id != facts.reference:
                continue
            case {"disputed_payment": {"payment_id": str()}, "state": str(word)}:
                reference = _text(value, "id") or _text(value, "dispute_id")
                seen.append((dispute_state(word), reference))
            case _:
                return Unknown("the list of disputes cannot be read")
    state, reference = max(seen, key=lambda s: _GRAVITY.index(s[0]), default=(DisputeState.NONE, ""))
    return replace(
        facts, dispute=state, dispute_reference=reference if state is not DisputeState.NONE else ""
    )


def before_refund(book: MoneyBook, command: Refund) -> Outcome | None:
    """What the look before a refund says; None where nothing speaks against sending it."""
    found = judge_refunds(book, command)
    if not isinstance(found, NotFound):
        # Whose money it was could not be told, and nothing has been sent.
        return Retryable("unavailable", found.reason) if isinstance(found, Unknown) else found
    if book.payment.source in _OFFLINE:
        return Permanent("not_through_square", refund_refusal(book))
    if any(r.word == "FAILED" for r in book.refunds):
        return Permanent("not_repeatable", refund_refusal(book))
    return None


def judge_refunds(book: MoneyBook, command: Refund) -> Found:
    """Our refund among those of the payment. One that lives speaks before one that failed, and a failed one of an earlier key
    than the command's does not speak at all.
    """
    ours = [r for r in book.refunds if r.step_key == command.step_key]
    living = [r for r in ours if r.status is not RefundStatus.FAILED]
    if living:
        outcome = judge_refund(living[0], command)
        others = ", ".join(r.reference for r in living[1:])
        if others and isinstance(outcome, Done):
            # A person must see it when there are two, whichever way that came about.
            return replace(outcome, detail=f"also refunded by {others}")
        return outcome
    failed = [r for r in ours if r.key_number >= key_number(command.key)]
    if failed:
        return judge_refund(failed[0], command)
    left = book.payment.total.minor - book.living - book.unlisted
    if book.payment.status == "COMPLETED" and book.payment.total.currency == command.amount.currency:
        gone = Money(book.payment.total.minor - left, command.amount.currency)
        if gone.minor and left < command.amount.minor:
            return Permanent(
                "refunded_elsewhere",
                f"{gone} of {book.payment.total} went back by other refunds: {command.amount} are not left",
            )
    if book.unlisted:
        return Unknown("Square says that more went back than the refunds it lists: one of them may be ours")
    return NotFound(MONEY_SETTLED_S, "none of the payment's refunds carries our reference")


def judge_refund(refund: RefundObject, command: Refund) -> Outcome:
    """What a refund that exists at Square is worth, beside what was asked for."""
    if refund.amount != command.amount or refund.payment_id != command.payment_reference:
        return Permanent(
            "amount_mismatch",
            f"asked for {command.amount} of {command.payment_reference}, Square has {refund.amount} of {refund.payment_id} "
            f"as {refund.reference}",
        )
    match refund.status:
        case RefundStatus.SUCCEEDED:
            return Done(refund.reference)
        case RefundStatus.PENDING:
            return Pending(refund.reference)
        case RefundStatus.FAILED:
            return Permanent(
                "refund_failed",
                f"{refund.reference} is {refund.word}; Square does not repeat it on that payment: a person gives it back",
            )
        case None:
            return Unknown(f"{refund.reference} has a status that we do not know: {refund.word:.60}")


def read_refund(response: Response, command: Refund) -> Outcome:
    """A refund that failed at once stands in the answer beside the error, whatever the status is."""
    match response.status, response.json:
        case status, {"refund": dict(value)} if status < 500:
            refund = read_refund_object(value)
            if refund is None:
                return Unknown("the refund cannot be read")
            if response.json.get("errors") and refund.status is not RefundStatus.FAILED:
                return Unknown(f"{refund.reference} came with an error: look what became of it")
            return judge_refund(refund, command)
        case _:
            return read_failure(response)


def read_void(response: Response, command: VoidPayment) -> Outcome:
    match response.status, response.json:
        case 200, {"payment": {"id": command.payment_reference, "status": "CANCELED"} as value}:
            payment = read_payment_object(value)
            return _judge_released(payment, command) if payment else Unknown("the payment cannot be read")
        case status, _ if 400 <= status < 500 and refusal_in(response)[0] == "BAD_REQUEST":
            # Captured or released meanwhile: Square says it with words only.
            return Unknown(f"refused, look how the payment stands: {read_failure(response).reason}")
        case _:
            return read_failure(response)


def judge_void(payment: Payment, command: VoidPayment) -> Found:
    match payment.status:
        case "CANCELED":
            return _judge_released(payment, command)
        case "COMPLETED":
            return Permanent("captured_meanwhile", "the payment was captured: refund it instead")
        case "FAILED":
            return AlreadyDone(payment.payment_id, "the payment failed: nothing is held any more")
        case "APPROVED":
            return NotFound(MONEY_SETTLED_S, "the payment is still APPROVED")
        case word:
            return Unknown(f"the payment is {word:.60}: neither released nor captured")


def _judge_released(payment: Payment, command: VoidPayment) -> Outcome:
    if payment.total != command.amount:
        return Permanent(
            "amount_mismatch", f"asked to release {command.amount}, Square released {payment.total}"
        )
    return Done(payment.payment_id)


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


def refusal_in(response: Response) -> tuple[str, str]:
    """The first error's code and the field that it names; empty where the answer holds no error."""
    match response.json:
        case {"errors": [{"code": str(code)} as error, *_]}:
            return code, _text(error, "field")
        case _:
            return "", ""


def read_failure(response: Response) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for: an explicit no, a "not now", or nothing that can be trusted."""
    code, where = refusal_in(response)
    match response.json:
        case {"errors": [{**error}, *_]}:
            detail, category = _text(error, "detail") or "no detail", _text(error, "category")
        case _:
            detail, category = "", ""
    told = f"{code}: {detail}" + (f" ({where})" if where else "")
    match response.status:
        case 401 | 403 as status:
            return Retryable(
                "unauthorised",
                f"Square refuses our token ({code or status}): check REFUNDFLOW_SQUARE_ACCESS_TOKEN and its permissions",
            )
        case 429:
            return Retryable("throttled", "Square is asked too often", response.retry_after_s)
        case status if not code or not 400 <= status < 500 or category == "API_ERROR":
            return Unknown(f"no clear answer, status {status}" + (f": {told}" if code else ""))
    match REFUSALS.get(code):
        case Means.LOOK:
            return Unknown(f"look what happened: {told}")
        case Means.DISPUTED:
            return Permanent("disputed", f"the bank decides about this payment, no refund is due: {told}")
        case Means.AGAIN:
            return Retryable("unavailable", told, response.retry_after_s)
        case Means.WAIT:
            return Retryable("unavailable", told, response.retry_after_s or _WAIT_S)
        case None:
            return Permanent(code, told)


class Means(StrEnum):
    """What a refusal is worth. LOOK: it may be so already, or soon, by us. DISPUTED: the bank has the money. AGAIN: not now.
    WAIT: something else has to end first, which takes its time.
    """

    LOOK = "look"
    DISPUTED = "disputed"
    AGAIN = "again"
    WAIT = "wait"


#: Error codes that are more than a plain no. All others are: the call was understood and refused.
REFUSALS: Final[Mapping[str, Means]] = {
    "CONFLICT": Means.LOOK,  # the first call under this key is still at work
    "DELAYED_TRANSACTION_CANCELED": Means.LOOK,
    "DELAYED_TRANSACTION_CAPTURED": Means.LOOK,
    "DELAYED_TRANSACTION_EXPIRED": Means.LOOK,
    "DELAYED_TRANSACTION_FAILED": Means.LOOK,
    "IDEMPOTENCY_KEY_REUSED": Means.LOOK,  # an earlier try got through, with another date or another order version
    "PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE": Means.DISPUTED,
    "RATE_LIMITED": Means.AGAIN,
    "REFUND_ALREADY_PENDING": Means.WAIT,
    "REFUND_AMOUNT_INVALID": Means.LOOK,
    "REFUND_ERROR_PAYMENT_NEEDS_COMPLETION": Means.WAIT,
    "REQUEST_TIMEOUT": Means.LOOK,
    "TEMPORARY_ERROR": Means.LOOK,
    "VERSION_MISMATCH": Means.AGAIN,
}


# ---------------------------------------------------------------------------------------------------------------------
# Events


@dataclass(frozen=True, slots=True)
class SquareInbound:
    """Events of one webhook subscription (https://developer.squareup.com/docs/webhooks/step3validate, read 2026-11-25).

    The signature has no time in it: what keeps an old delivery from counting twice is its `event_id`.
    """

    platform: ClassVar[str] = SPEC.platform
    signature_keys: Secret
    notification_url: str

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """The message is the registered address, byte for byte, and the raw body. Several keys may hold."""
        keys = split_secrets(self.signature_keys.reveal())
        if not keys or not self.notification_url:
            return Refused("no signature key, or no notification address, is set")
        given = delivery.headers.get("x-square-hmacsha256-signature", "")
        if not given:
            return Refused("the signature header is missing")
        message = self.notification_url.encode() + delivery.body
        if not is_any([sign_base64(key, message) for key in keys], [given]):
            return Refused("the signature does not match")
        match parse_json(delivery.body):
            case {"event_id": str(event_id), "type": str(topic)} if event_id and topic:
                return Verified(event_id, topic)
            case _:
                return Refused("the body is no event")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event that matters to us lacks what it must have."""
        match topic:
            case "order.updated":
                return _read_order_news(_object(body, "order_updated"))
            case "refund.created" | "refund.updated":
                return _read_refund_news(_object(body, "refund"))
            case "payment.updated":
                return _read_payment_news(_object(body, "payment"))
            case "dispute.created" | "dispute.state.updated":
                return _read_dispute_news(_object(body, "dispute"))
            case "order.fulfillment.updated":
                # It names the fulfilments that changed and not the others: no word about the order.
                return Irrelevant("a fulfilment alone does not say that the order is cancelled")
            case _:
                return Irrelevant(f"{topic} asks nothing of us")


def _object(body: bytes, name: str) -> Mapping[str, Any]:
    match parse_json(body):
        case {"data": {"object": {**objects}}} if isinstance(found := objects.get(name), dict):
            return found
        case _:
            raise MalformedError(f"data.object.{name}", "is missing")


def _named(value: Mapping[str, Any], kind: str, name: str) -> str:
    if found := _text(value, name):
        return found
    raise MalformedError(f"data.object.{kind}.{name}", "is not a text")


def _read_order_news(value: Mapping[str, Any]) -> Reading:
    order_id, state = _named(value, "order_updated", "order_id"), _named(value, "order_updated", "state")
    if state == "CANCELED":
        return OrderCancelledElsewhere(OrderRef(SPEC.platform, order_id))
    return Irrelevant(f"the order is {state}")


def _read_refund_news(value: Mapping[str, Any]) -> Reading:
    reference = _named(value, "refund", "id")
    payment_id = _text(value, "payment_id")
    if not payment_id:
        return Irrelevant("a refund without a payment")
    match read_refund_object(value):
        # The order of a refund is the new one that stands for it, not the one that was bought.
        case RefundObject(status=RefundStatus() as status) as refund:
            why = refund.word if status is RefundStatus.FAILED else ""
            return RefundSeen(
                SPEC.platform, payment_id, reference, status, refund.amount, refund.step_key, why=why
            )
        case _:
            # Something happened to a refund, and we cannot tell what: ask.
            return PaymentRefundsChanged(SPEC.platform, payment_id)


def _read_payment_news(value: Mapping[str, Any]) -> Reading:
    payment_id = _named(value, "payment", "id")
    if not value.get("refund_ids") and not value.get("refunded_money"):
        return Irrelevant("a payment without refunds")
    order_id = _text(value, "order_id")
    return PaymentRefundsChanged(
        SPEC.platform, payment_id, OrderRef(SPEC.platform, order_id) if order_id else None
    )


def _read_dispute_news(value: Mapping[str, Any]) -> Reading:
    reference = _text(value, "id") or _named(value, "dispute", "dispute_id")
    payment = value.get("disputed_payment")
    if not (payment_id := _text(payment, "payment_id")):
        raise MalformedError("data.object.dispute.disputed_payment.payment_id", "is not a text")
    return DisputeSeen(
        SPEC.platform,
        payment_id,
        reference,
        dispute_state(_named(value, "dispute", "state")),
        _money(value.get("amount_money")),
        _text(value, "reason"),
    )
