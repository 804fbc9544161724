"""WooCommerce: a self-hosted shop. Cancels orders (which puts stock back), refunds through the shop's own gateway plugin where
that plugin is the payer, and writes down refunds that somebody else paid.

REST API wc/v3, as of WooCommerce 11 (woocommerce.github.io/woocommerce-rest-api-docs and the plugin's public source, read
2026-11-25). Authorised with a consumer key and secret (read/write) of a user who may edit shop orders, by HTTP Basic over TLS.

Quirks
- A cancel never returns captured money. It raises the stock of every line that still carries `_reduced_stock`, once, and it
  cannot be told not to. A gateway plugin may release a payment that was only authorised; the shop does not tell.
- A refund record moves money unless `api_refund` is false, and puts units back unless `api_restock` is false: both are always
  said, and so is the amount. Status `refunded` is never written: that invents a record for the rest.
- The record of a refund is saved first, then the gateway is asked, then the answer is noted (`refunded_payment`), meta comes
  last. A process that dies in between leaves a record without money, or money without a record. So the absence of a record
  never proves that a refund through the gateway did not happen, and a record that is not paid is never taken for a yes.
- Errors of the refunds controller come as HTTP 500 with one code for everything, in the shop's language; a gateway that ran
  into its time limit looks like one that declined. Only texts that are said before the gateway is asked are taken for a no.
- No idempotency anywhere: our reference stands in `meta_data` and in the reason, and is looked for before every write.
- A refund that the gateway takes back later is not told to the shop: nothing here can know of it.
- The refunds of an order that is not there are an empty list. Lines of no order line are dropped in silence. A PUT whose body
  is not read answers 200 with the order as it was. A search matches substrings of names and addresses.
- Lists are only believed with the page count in their headers, which tells them from whatever else answers with a list.
- Deliveries are sent once, and a webhook that failed a few times is switched off: polling is what brings everything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from ipaddress import ip_address
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

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
from refundflow.domain.commands import CancelOrder, RecordOrderRefund, Refund, Restock
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
    Greeting,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.money import Money, exponent_of
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import (
    Http,
    Request,
    Response,
    TransportError,
    Wire,
    parse_json,
)
from refundflow.transport.signatures import is_any, sign_base64, split_secrets

_DOC: Final = "https://woocommerce.github.io/woocommerce-rest-api-docs"
_API: Final = "/wp-json/wc/v3"

SPEC: Final = Spec(
    platform="woocommerce",
    api_version="wc/v3",
    base_url="https://{shop}",
    operations={
        Capability.READ_ORDER: Operation(
            f"GET {_API}/orders/{{id}}", Idempotency.READ, f"{_DOC}/#retrieve-an-order"
        ),
        Capability.QUOTE_LINES: Operation(
            f"GET {_API}/orders/{{id}}, by the lines' own totals",
            Idempotency.READ,
            f"{_DOC}/#retrieve-an-order",
        ),
        # The same status again is a no-op: no second stock change, no second mail.
        Capability.CANCEL_ORDER: Operation(
            f"PUT {_API}/orders/{{id}}", Idempotency.NATURAL, f"{_DOC}/#update-an-order"
        ),
        # Nothing is sent: the cancel or the refund carried it, and here it is proved.
        Capability.RESTOCK: Operation(
            f"GET {_API}/orders/{{id}}, a proof", Idempotency.NATURAL, f"{_DOC}/#retrieve-an-order"
        ),
        Capability.READ_PAYMENT: Operation(
            f"GET {_API}/orders/{{id}}/refunds", Idempotency.READ, f"{_DOC}/#list-all-refunds"
        ),
        Capability.REFUND: Operation(
            f"POST {_API}/orders/{{id}}/refunds, api_refund true",
            Idempotency.LOOKUP,
            f"{_DOC}/#create-a-refund",
        ),
        Capability.RECORD_ORDER_REFUND: Operation(
            f"POST {_API}/orders/{{id}}/refunds, api_refund false",
            Idempotency.LOOKUP,
            f"{_DOC}/#create-a-refund",
        ),
        Capability.CHECK: Operation(f"GET {_API}/orders", Idempotency.READ, f"{_DOC}/#list-all-orders"),
        Capability.INBOUND: Operation("X-WC-Webhook-Signature", Idempotency.READ, f"{_DOC}/#webhooks"),
        Capability.POLL: Operation(
            f"GET {_API}/orders?modified_after=…", Idempotency.READ, f"{_DOC}/#list-all-orders"
        ),
    },
    # The shop's own machine serves its customers too, and publishes no limit: we stay gentle.
    rate_per_s=3.0,
    burst=6,
    # Meta data hold whatever plugins put there: tax numbers, card brands, notes of the customer.
    redact=frozenset(
        {
            "billing",
            "consumer_key",
            "consumer_secret",
            "customer_ip_address",
            "customer_note",
            "customer_user_agent",
            "meta_data",
            "order_key",
            "payment_url",
            "shipping",
            "x-wc-webhook-signature",
        }
    ),
    connect_s=4.0,
    # The gateway is asked within the refund call.
    read_s=40.0,
)

#: The meta keys of our references. `_refundflow_op` is the step, `_refundflow_key` the try, on an order's cancel and on refunds.
STEP_KEY: Final = "_refundflow_op"
WIRE_KEY: Final = "_refundflow_key"
#: The payers' ids of the refunds that a record is about.
PAID_BY: Final = "_refundflow_refunds"

#: PHP works on after the caller has gone. What is saved early in a call shows within this time, or will not come.
CANCEL_SETTLED_S: Final = 60.0
RECORD_SETTLED_S: Final = 120.0
#: One read: several of them and one write end within a step's lease.
_LOOK_S: Final = 10.0
_PAGE: Final = 100
_MOST_PAGES: Final = 10
#: Decimals asked for: a line's own totals have more than the currency, and are rounded here, once.
_PLACES: Final = "6"
#: How far a window of polling reaches back into the one before: what slipped between pages, and a clock that is a little off.
POLL_OVERLAP: Final = timedelta(minutes=15)
_POLL_FIRST: Final = timedelta(days=1)

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """`base_url`: the shop's address up to and without `/wp-json` (`https://shop.example`); `consumer_key`, `consumer_secret`:
    the REST API key (`ck_…`, `cs_…`) with read and write; `webhook_secret`: what deliveries are signed with, several with
    commas between them while one is being replaced (empty: only polling brings news).

    Raises ValueError for an address without TLS, but on this machine itself: the key would travel in the clear.
    """

    base_url: str
    consumer_key: str
    consumer_secret: Secret
    webhook_secret: Secret = _NO_SECRET

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query:
            raise ValueError(f"base_url is the shop's address (https://shop.example), not {self.base_url!r}")
        if url.scheme != "https" and not is_loopback(url.hostname):
            raise ValueError("base_url must begin with https://: the key is sent with every call")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by what it is called."""
    if not re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host):
        return host == "localhost"
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def build(credentials: Credentials, wire: Wire) -> WooCommerce:
    """The connector on a wire."""
    return WooCommerce(
        wire.http(
            platform=SPEC.platform,
            base_url=credentials.base_url.rstrip("/").removesuffix("/wp-json"),
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            auth=(credentials.consumer_key, credentials.consumer_secret.reveal()),
            redact=SPEC.redact,
        )
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the shop shows


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order, or units and amounts of one. `item_id`: the order line's; amounts in minor units: `net` after
    discounts and without tax, `taxes` by tax rate, `tax_untold` where the rates are not listed; `is_article`: a product,
    not shipping or a fee; `reduced`: units whose stock the order still holds; `restocked`: units that refunds put back.
    """

    item_id: int
    is_article: bool
    quantity: int
    net: int
    taxes: tuple[tuple[int, int], ...] = ()
    tax_untold: int = 0
    sku: str = ""
    title: str = ""
    reduced: int = 0
    restocked: int = 0

    @property
    def gross(self) -> int:
        return self.net + sum(tax for _, tax in self.taxes) + self.tax_untold


@dataclass(frozen=True, slots=True)
class RefundRecord:
    """A refund as the shop has it. `is_paid`: the gateway was asked and said yes; `items`: what of which order line;
    `marks`: the words of its reason and meta, among which a plugin names the payer's id.
    """

    refund_id: str
    amount: Money
    is_paid: bool
    step_key: str
    items: tuple[Item, ...]
    marks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the shop has it. `step_key`, `key`: of the cancel of ours that was written on it; `refund_ids`: what the
    order itself says of its refunds; `is_shipped`: it was completed, and is not open again.
    """

    order_id: str
    number: str
    status: str
    created_at: datetime
    modified_at: datetime | None
    total: Money
    is_paid: bool
    is_shipped: bool
    gateway: str
    transaction_id: str
    email: str
    phone: str
    customer_name: str
    items: tuple[Item, ...]
    refund_ids: frozenset[str]
    step_key: str
    key: str

    @property
    def currency(self) -> str:
        return self.total.currency


@dataclass(frozen=True, slots=True)
class Book:
    """An order and all its refunds."""

    order: Order
    refunds: tuple[RefundRecord, ...]

    @property
    def left(self) -> Money:
        """What is not recorded as refunded, by whomever."""
        return Money(
            self.order.total.minor - sum(r.amount.minor for r in self.refunds), self.order.total.currency
        )

    def ours(self, step_key: str) -> tuple[RefundRecord, ...]:
        return tuple(r for r in self.refunds if r.step_key == step_key)

    def left_of(self, item: Item) -> Item:
        """What no refund has taken of a line yet."""
        back = [part for refund in self.refunds for part in refund.items if part.item_id == item.item_id]
        taxes = dict(item.taxes)
        for part in back:
            for rate, tax in part.taxes:
                taxes[rate] = taxes.get(rate, 0) - tax
        return replace(
            item,
            quantity=max(0, item.quantity - sum(part.quantity for part in back)),
            net=item.net - sum(part.net for part in back),
            taxes=tuple(taxes.items()),
            tax_untold=item.tax_untold - sum(part.tax_untold for part in back),
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `pages`: how many there are."""

    objects: list[Any]
    pages: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write was refused before anything was done by it. Whether an earlier one did it already has to be looked up."""

    code: str
    reason: str


class RefundCommand(Protocol):
    """What a refund and the record of one have in common."""

    @property
    def step_key(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def order_id(self) -> str: ...
    @property
    def amount(self) -> Money: ...
    @property
    def lines(self) -> tuple[LineQuantity, ...]: ...
    @property
    def takes_out(self) -> bool: ...
    @property
    def restock(self) -> bool: ...
    @property
    def is_whole(self) -> bool: ...


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class WooCommerce:
    """One shop: order platform, stock owner, payer through its gateway plugin, and recorder of refunds."""

    spec: ClassVar[Spec] = SPEC
    http: Http

    def check(self) -> Health:
        """Two calls: one that needs the key, and whether an order webhook was switched off."""
        match read_page(self.http.send(check_request())):
            case Page():
                return Health(True, read_webhooks(self.http.send(webhooks_request())))
            case no:
                return Health(False, no.reason)

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """Two calls by id; by number one for the search, one for the order whose id it would be, and the same two."""
        order_id = ref.order_id
        if not order_id:
            match self._find_order(ref.number.lstrip("#")):
                case str(found):
                    order_id = found
                case no:
                    return no
        match self._book("read_order", order_id):
            case Book() as book:
                return order_facts(book)
            case no:
                return no

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """By the lines' own totals; the last units of a line take what is left of it."""
        match self._book("quote_lines", order.order_id):
            case Book() as book:
                return quote(book, lines)
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Looks first. Refuses where the shop would put back stock that somebody else owns."""
        match look_first(lambda: self._order("cancel_order", command.order_id)):
            case Order() as order:
                told = before_cancel(order, command)
                return told or read_cancel(self.http.send(cancel_request(command)), command)
            case no:
                return no

    def find_cancel_order(self, command: CancelOrder) -> Found:
        match self._order("find_cancel_order", command.order_id):
            case Order() as order:
                return judge_cancel(order, command)
            case no:
                return uncertain(no)

    def restock(self, command: Restock) -> Outcome:
        """Sends nothing: the cancel or the refund that carried it put the units back, and here that is proved."""
        if not command.carried_by:
            return Permanent(
                "no_own_restock",
                "WooCommerce puts units back with a cancel or a refund only: raise the stock under Products, then resolve this step",
            )
        match look_first(lambda: self._book("restock", command.order_id)):
            case Book() as book:
                match judge_restock(book, command):
                    case NotFound(reason=reason):
                        return Permanent("restock_unproven", f"{reason}: compare the stock under Products")
                    case told:
                        return told
            case no:
                return no

    def find_restock(self, command: Restock) -> Found:
        match self._book("find_restock", command.order_id):
            case Book() as book:
                return judge_restock(book, command)
            case no:
                return uncertain(no)

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """The order's one payment as the shop tells it. `payment_reference`: the order's id."""
        if order_id and payment_reference != order_id:
            return _unknown_reference(payment_reference)
        match self._book("read_payment", payment_reference):
            case Book() as book:
                return payment_facts(book)
            case no:
                return no

    def refund(self, command: Refund) -> Outcome:
        """Has the gateway plugin pay. Looks first; a record that the gateway has not confirmed is Unknown."""
        if command.order_id and command.payment_reference != command.order_id:
            return _unknown_reference(command.payment_reference)
        order_id = command.payment_reference
        match look_first(lambda: self._book("refund", order_id)):
            case Book() as book:
                if book.ours(command.step_key):
                    return judge_refund(book.ours(command.step_key), command)
                if refusal := refuse_refund(book, command):
                    return refusal
                lines = lines_of(book, command)
            case no:
                return no
        response = self.http.send(refund_request(command, order_id, lines))
        match read_created(response, command.amount.currency):
            case RefundRecord() as record:
                return judge_refund((record,), command)
            case Refusal(code=code, reason=reason):
                return self._settle_refusal(Permanent(code, reason), command, order_id)
            case told:
                return told

    def find_refund(self, command: Refund) -> Found:
        """Never says that nothing happened: the money may have moved and the record be gone."""
        if command.order_id and command.payment_reference != command.order_id:
            return _unknown_reference(command.payment_reference)
        match self._book("find_refund", command.payment_reference):
            case Book() as book:
                ours = book.ours(command.step_key)
                return judge_refund(ours, command) if ours else absent_refund(book)
            case no:
                return uncertain(no)

    def record_order_refund(self, command: RecordOrderRefund) -> Outcome:
        """Writes down what somebody else paid. Looks first; moves no money."""
        match look_first(lambda: self._book("record_order_refund", command.order_id)):
            case Book() as book:
                if told := recorded_already(book, command):
                    return told
                if refusal := refuse_record(book, command):
                    return refusal
                lines = lines_of(book, command)
            case no:
                return no
        response = self.http.send(record_request(command, lines))
        match read_created(response, command.amount.currency):
            case RefundRecord() as record:
                return judge_record((record,), command)
            case Refusal(code=code, reason=reason):
                return self._settle_refusal(Permanent(code, reason), command, command.order_id)
            case told:
                return told

    def find_record_order_refund(self, command: RecordOrderRefund) -> Found:
        match self._book("find_record_order_refund", command.order_id):
            case Book() as book:
                return recorded_already(book, command) or NotFound(
                    RECORD_SETTLED_S, "none of the order's refunds carries our reference"
                )
            case no:
                return uncertain(no)

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """One page of the orders changed in a window; those that are cancelled or have refunds are news."""
        window = read_cursor(cursor, now)
        match read_page(self.http.send(poll_request(window))):
            case Page(objects=objects, pages=pages):
                events = [read_changed_order(value) for value in objects]
            case no:
                return no
        if None in events:
            return Unknown("the list of changed orders has one without id or status")
        told = tuple(polled_event(event) for event in events if event is not None and event.is_news)
        has_more = window.page < pages
        return Polled(told, write_cursor(window.following(has_more=has_more)), has_more)

    # ------------------------------------------------------------ looking

    def _order(self, operation: str, order_id: str) -> Order | NotFound | NoAnswer:
        if not is_id(order_id):
            return _unknown_reference(order_id)
        return read_order(self.http.send(order_request(operation, order_id)), order_id)

    def _book(self, operation: str, order_id: str) -> Book | NotFound | NoAnswer:
        """The order and its refunds: two calls, one more per further 100 refunds."""
        order = self._order(operation, order_id)
        if not isinstance(order, Order):
            return order
        refunds: dict[str, RefundRecord] = {}
        for number in range(1, _MOST_PAGES + 1):
            match read_page(self.http.send(refunds_request(operation, order_id, number))):
                case Page(objects=objects, pages=pages):
                    records = [read_refund_record(value, order.currency) for value in objects]
                case no:
                    return no
            for record in records:
                if not isinstance(record, RefundRecord):
                    return record
                refunds[record.refund_id] = record
            if number >= pages:
                break
        else:
            return Unknown(f"order {order_id} has more than {_MOST_PAGES * _PAGE} refunds")
        # A list kept in some cache between us and the shop would lack the newest refund.
        if missing := order.refund_ids - refunds.keys():
            return Unknown(f"the list of refunds lacks {', '.join(sorted(missing))}, which the order names")
        return Book(order, tuple(refunds.values()))

    def _settle_refusal(
        self, refused: Permanent, command: Refund | RecordOrderRefund, order_id: str
    ) -> Outcome:
        """A refusal stands where no refund of ours is there; what is there counts."""
        try:
            book = self._book("settle_refusal", order_id)
        except TransportError as error:
            return Unknown(f"refused ({refused.reason}), and could not look: {error.args[0]}")
        match book, command:
            case Book() as seen, Refund():
                ours = seen.ours(command.step_key)
                return judge_refund(ours, command) if ours else refused
            case Book() as seen, RecordOrderRefund():
                return recorded_already(seen, command) or refused
            case Retryable() | Permanent() | Unknown() | NotFound() as no, _:
                return Unknown(f"refused ({refused.reason}), and could not look: {no.reason}")
            case _:
                return Unknown(f"refused ({refused.reason}), and could not look")

    def _find_order(self, number: str) -> str | NotFound | NoAnswer:
        """The id of the one order that people call so. The search knows names, addresses and articles too, and not always
        the numbers of a numbering plugin, so that what it brings is compared, and the order of that id is asked as well.
        """
        if not number:
            return Permanent("no_reference", "neither an order id nor an order number was given")
        found: set[str] = set()
        for page in range(1, _MOST_PAGES + 1):
            match read_page(self.http.send(search_request(number, page))):
                case Page(objects=objects, pages=pages):
                    found |= {order_id for value in objects if (order_id := id_of_number(value, number))}
                case no:
                    return no
            if page >= pages:
                break
        else:
            return Permanent("ambiguous", f"{number!r} fits too many orders: name the order's id")
        if is_id(number) and number not in found:
            match self._order("find_order", number):
                case Order(number=shown) if shown.lstrip("#") == number:
                    found.add(number)
                case Order() | NotFound():
                    pass
                case no:
                    return no
        match sorted(found):
            case []:
                return NotFound(0.0, f"the shop has no order {number!r}")
            case [order_id]:
                return order_id
            case several:
                return Permanent("ambiguous", f"{number!r} is the number of orders {', '.join(several)}")


def is_id(text: str) -> bool:
    """Whether a text is an id of WordPress's, and may be put into a path."""
    return re.fullmatch(r"[1-9][0-9]{0,18}", text) is not None


def _unknown_reference(reference: str) -> Permanent:
    return Permanent("unknown_reference", f"{reference!r} is no order id of WooCommerce")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_request() -> Request:
    return Request("GET", f"{_API}/orders", "woocommerce.check", params=[("per_page", "1")], total_s=_LOOK_S)


def webhooks_request() -> Request:
    return Request(
        "GET",
        f"{_API}/webhooks",
        "woocommerce.check",
        params=[("per_page", str(_PAGE)), ("status", "all")],
        total_s=_LOOK_S,
    )


def order_request(operation: str, order_id: str) -> Request:
    return Request(
        "GET",
        f"{_API}/orders/{order_id}",
        f"woocommerce.{operation}",
        params=[("dp", _PLACES)],
        total_s=_LOOK_S,
    )


def refunds_request(operation: str, order_id: str, page: int) -> Request:
    return Request(
        "GET",
        f"{_API}/orders/{order_id}/refunds",
        f"woocommerce.{operation}",
        params=[("per_page", str(_PAGE)), ("page", str(page)), ("dp", _PLACES)],
        total_s=_LOOK_S,
    )


def search_request(number: str, page: int) -> Request:
    return Request(
        "GET",
        f"{_API}/orders",
        "woocommerce.find_order",
        params=[("search", number), ("per_page", str(_PAGE)), ("page", str(page)), ("_fields", "id,number")],
        total_s=_LOOK_S,
    )


def cancel_request(command: CancelOrder) -> Request:
    return Request(
        "PUT",
        f"{_API}/orders/{command.order_id}",
        "woocommerce.cancel_order",
        params=[("dp", _PLACES)],
        json={"status": "cancelled", "meta_data": _meta(command.step_key, command.key)},
    )


def _meta(step_key: str, key: str, **more: str) -> list[dict[str, str]]:
    named = {STEP_KEY: step_key, WIRE_KEY: key, **more}
    return [{"key": name, "value": value} for name, value in named.items() if value]


def reason_of(step_key: str) -> str:
    """Our reference in the reason, which is saved before the meta data; a customer may see it on the order."""
    return f"refundflow {step_key}"


def step_key_in(reason: str) -> str:
    """The step that a reason refers to; empty where it is not one of ours."""
    found = re.search(r"(?:^|\s)refundflow (\S+)", reason)
    return found[1] if found else ""


def refund_request(command: Refund, order_id: str, lines: Sequence[Mapping[str, Any]]) -> Request:
    return _create_request("refund", command, order_id, lines, moves_money=True, meta={})


def record_request(command: RecordOrderRefund, lines: Sequence[Mapping[str, Any]]) -> Request:
    meta = {PAID_BY: command.refund_references}
    return _create_request(
        "record_order_refund", command, command.order_id, lines, moves_money=False, meta=meta
    )


def _create_request(
    operation: str,
    command: RefundCommand,
    order_id: str,
    lines: Sequence[Mapping[str, Any]],
    *,
    moves_money: bool,
    meta: Mapping[str, str],
) -> Request:
    """Everything that the vendor would otherwise assume is said: who pays, what happens to the stock, how much."""
    return Request(
        "POST",
        f"{_API}/orders/{order_id}/refunds",
        f"woocommerce.{operation}",
        params=[("dp", _PLACES)],
        json={
            "amount": command.amount.major,
            "reason": reason_of(command.step_key),
            "api_refund": moves_money,
            "api_restock": command.takes_out and command.restock,
            "meta_data": _meta(command.step_key, command.key, **meta),
            **({"line_items": list(lines)} if lines else {}),
        },
    )


# ---------------------------------------------------------------------------------------------------------------------
# Units and what they are worth


def by_line(lines: Iterable[LineQuantity]) -> dict[str, int]:
    units: dict[str, int] = {}
    for line in lines:
        units[line.line_id] = units.get(line.line_id, 0) + line.quantity
    return units


def part_of(item: Item, left: Item, quantity: int) -> Item:
    """So many units of a line. Each costs the whole part of its share; the last ones take what is left."""
    if quantity == left.quantity:
        return replace(left, net=max(0, left.net), taxes=tuple((r, max(0, t)) for r, t in left.taxes))

    def share(whole: int, rest: int) -> int:
        return max(0, min(whole // item.quantity * quantity, rest))

    rest = dict(left.taxes)
    return replace(
        item,
        quantity=quantity,
        net=share(item.net, left.net),
        taxes=tuple((rate, share(tax, rest.get(rate, 0))) for rate, tax in item.taxes),
        tax_untold=share(item.tax_untold, left.tax_untold),
    )


def parts_of(book: Book, lines: Iterable[LineQuantity]) -> tuple[Item, ...] | Permanent:
    """The wanted units with their amounts, or which of them the order does not have any more."""
    articles = {str(item.item_id): item for item in book.order.items if item.is_article}
    parts = []
    for line_id, quantity in by_line(lines).items():
        item = articles.get(line_id)
        if item is None:
            return Permanent("unknown_line", f"order {book.order.order_id} has no line {line_id!r}")
        left = book.left_of(item)
        if not 0 < quantity <= left.quantity:
            return Permanent("lines_gone", f"line {line_id} has {left.quantity} units left, not {quantity}")
        parts.append(part_of(item, left, quantity))
    return tuple(parts)


def quote(book: Book, lines: Iterable[LineQuantity]) -> Money | Permanent:
    match parts_of(book, lines):
        case Permanent() as no:
            return no
        case parts:
            return Money(sum(part.gross for part in parts), book.order.currency)


def lines_of(book: Book, command: RefundCommand) -> list[dict[str, Any]]:
    """The units of a refund with their amounts, where these add up to its amount: of a whole order with shipping and fees.
    Where they do not, units alone if the refund is what takes them out of the order, else nothing: the amount counts anyway.
    """
    parts = parts_of(book, command.lines)
    if isinstance(parts, Permanent):
        return []
    currency = book.order.currency
    rest = [book.left_of(item) for item in book.order.items if not item.is_article]
    extras = tuple(left for left in rest if left.gross > 0) if command.is_whole else ()
    is_listed = not any(part.tax_untold for part in (*parts, *extras))
    if parts and is_listed and sum(part.gross for part in (*parts, *extras)) == command.amount.minor:
        return [line_json(part, currency) for part in (*parts, *extras)]
    if command.takes_out:
        return [line_json(replace(part, net=0, taxes=()), currency) for part in parts]
    return []


def line_json(part: Item, currency: str) -> dict[str, Any]:
    """A refund's line. `refund_total` is a number here, while amounts are texts everywhere else."""
    return {
        "id": part.item_id,
        **({"quantity": part.quantity} if part.is_article else {}),
        "refund_total": _major(part.net, currency),
        "refund_tax": [
            {"id": rate, "refund_total": _major(tax, currency)} for rate, tax in part.taxes if tax
        ],
    }


def _major(minor: int, currency: str) -> Decimal:
    return Decimal(Money(minor, currency).major)


# ---------------------------------------------------------------------------------------------------------------------
# Decisions


#: Statuses that core itself knows; a plugin's own may mean anything, shipped among it.
_STATUSES: Final = frozenset(
    {"pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed"}
)
_NO_ORDERS_YET: Final = frozenset({"trash", "auto-draft", "checkout-draft"})
#: Core's own means of payment that send nothing back by themselves.
_OFFLINE: Final = frozenset({"bacs", "cheque", "cod"})


def before_cancel(order: Order, command: CancelOrder) -> Outcome | None:
    """What forbids the cancel, or makes it needless; None where it is to be sent. Core would move any order to cancelled."""
    match judge_cancel(order, command):
        case Done(reference=reference, detail=detail):
            return AlreadyDone(reference, detail)
        case NotFound():
            pass
        case told:
            return told
    if order.status == "completed":
        return Permanent("shipped", "the order is completed: it was shipped, and comes back as a return")
    if order.status in _NO_ORDERS_YET:
        return Permanent("not_an_order", f"the order is {order.status!r}: there is nothing to cancel")
    held = [item for item in order.items if item.reduced]
    if held and not command.restock:
        return Permanent(
            "restocks_itself",
            f"WooCommerce would put back {sum(item.reduced for item in held)} units by itself with this cancel, and their stock "
            'belongs to another system: set stock_owner = "woocommerce", or switch off its stock management (WooCommerce > '
            "Settings > Products > Inventory) for the future and cancel this order in the shop, correcting the stock there",
        )
    return None


def judge_cancel(order: Order, command: CancelOrder) -> Found:
    """Whether the order shows the cancel. A cancelled order that is refunded in full becomes `refunded`."""
    is_ours = order.step_key == command.step_key
    match order.status:
        case "cancelled" if is_ours:
            return Done(order.order_id, "cancelled, with our reference")
        case "cancelled":
            return AlreadyDone(order.order_id, "cancelled by somebody else")
        case "refunded" if is_ours:
            return Done(order.order_id, "cancelled with our reference, and refunded since")
        case status if is_ours and order.key == command.key:
            return Permanent(
                "reopened", f"our cancel was written on the order, and somebody made it {status!r} again"
            )
        case status:
            return NotFound(CANCEL_SETTLED_S, f"the order is {status!r}")


def judge_restock(book: Book, command: Restock) -> Found:
    """By what the lines say of the order's stock. Core raises it with a cancel by what `_reduced_stock` says, once, and then
    deletes that; with a refund by the units asked for, and adds them up in a meta of its own.
    """
    order = book.order
    articles = {str(item.item_id): item for item in order.items if item.is_article}
    wanted = by_line(command.lines)
    if unknown := wanted.keys() - articles.keys():
        return Permanent("unknown_line", f"order {order.order_id} has no line {', '.join(sorted(unknown))}")
    ours = book.ours(command.carried_by)
    is_cancelled = order.status == "cancelled" or (
        order.status == "refunded" and order.step_key == command.carried_by
    )
    if is_cancelled:
        held = [line_id for line_id in wanted if articles[line_id].reduced]
        if held:
            return _not_restocked(f"the order is cancelled, and lines {', '.join(held)} still hold stock")
        by = "our cancel" if order.step_key == command.carried_by else "a cancel of somebody else's"
        return Done(order.order_id, f"put back with {by}: no line holds stock any more")
    if not ours:
        return NotFound(
            CANCEL_SETTLED_S, f"the order is {order.status!r}, and no refund of {command.carried_by} is there"
        )
    taken: dict[str, int] = {}
    for part in (part for record in ours for part in record.items):
        taken[str(part.item_id)] = taken.get(str(part.item_id), 0) + part.quantity
    references = ", ".join(record.refund_id for record in ours)
    for line_id, quantity in wanted.items():
        item = articles[line_id]
        if taken.get(line_id, 0) < quantity:
            return _not_restocked(
                f"refund {references} has {taken.get(line_id, 0)} units of line {line_id}, not {quantity}"
            )
        if item.restocked < quantity and (item.reduced or item.restocked):
            return _not_restocked(
                f"refund {references} has the units of line {line_id}, which still hold stock"
            )
    return Done(references, "put back with our refund, as far as the shop manages their stock")


def _not_restocked(why: str) -> Permanent:
    return Permanent("not_restocked", f"{why}: a plugin may forbid it; correct the stock under Products")


def judge_refund(ours: tuple[RefundRecord, ...], command: Refund) -> Outcome:
    """What the records with our reference come to, where the gateway was to pay."""
    if told := _mismatch(ours, command):
        return told
    record = ours[0]
    if not record.is_paid:
        return Unknown(
            f"refund {record.refund_id} is written down, and the gateway has not confirmed it. If this stays so, look at the gateway: "
            "if it shows the money, resolve this step with --happened; if not, delete the record in the shop and resolve it with --never"
        )
    return Done(record.refund_id, _missing_units(record, command))


def judge_record(ours: tuple[RefundRecord, ...], command: RecordOrderRefund) -> Outcome:
    """What the records with our reference come to, where nobody was to pay."""
    if told := _mismatch(ours, command):
        return told
    record = ours[0]
    if record.is_paid:
        return Permanent(
            "moved_money",
            f"record {record.refund_id} of {record.amount} was to move no money, and the shop's gateway paid it: the customer has it twice",
        )
    if missing := _missing_units(record, command):
        return Permanent("lines_mismatch", f"record {record.refund_id}: {missing}")
    return Done(record.refund_id)


def _mismatch(ours: tuple[RefundRecord, ...], command: RefundCommand) -> Permanent | None:
    if [record.amount for record in ours] == [command.amount]:
        return None
    told = " and ".join(f"{record.amount} as {record.refund_id}" for record in ours)
    return Permanent("amount_mismatch", f"asked for {command.amount}, the shop has {told}")


def _missing_units(record: RefundRecord, command: RefundCommand) -> str:
    """Which units a refund should have taken out and did not; empty where all is well. Lines that the shop does not find it
    drops without a word.
    """
    if not command.takes_out:
        return ""
    taken: dict[str, int] = {}
    for part in record.items:
        taken[str(part.item_id)] = taken.get(str(part.item_id), 0) + part.quantity
    wanted = by_line(command.lines)
    missing = {line_id: n - taken.get(line_id, 0) for line_id, n in wanted.items() if taken.get(line_id) != n}
    return f"units that it should take out and does not, by line: {missing}" if missing else ""


def absent_refund(book: Book) -> NotFound:
    """No record of ours. That proves nothing, at no time: the record may be gone while the money is not."""
    others = Money(book.order.total.minor - book.left.minor, book.order.currency)
    return NotFound(
        None,
        f"no refund of the order carries our reference (others: {others}). Look at the gateway for "
        f"{book.order.transaction_id or 'this order'}: if it shows the money, resolve this step with --happened, if not with "
        "--never",
    )


def refuse_refund(book: Book, command: Refund) -> Permanent | None:
    """What is known beforehand to forbid a refund through the gateway."""
    order = book.order
    if told := _refuse(book, command):
        return told
    if not order.is_paid:
        return Permanent("not_captured", "the shop knows of no payment that was captured")
    if order.gateway in _OFFLINE:
        return Permanent(
            "no_automatic_refunds", f"{order.gateway!r} sends no money back by itself: pay by hand"
        )
    if book.left < command.amount:
        return Permanent(
            "refunded_elsewhere",
            f"of {order.total} only {book.left} are left: refunds {', '.join(r.refund_id for r in book.refunds)} are not ours",
        )
    return None


def refuse_record(book: Book, command: RecordOrderRefund) -> Permanent | None:
    """What is known beforehand to forbid a record."""
    order = book.order
    if told := _refuse(book, command):
        return told
    if book.left < command.amount:
        return Permanent(
            "recorded_elsewhere",
            f"of {order.total} only {book.left} are not recorded as refunded yet: compare {', '.join(r.refund_id for r in book.refunds)}",
        )
    if not order.is_paid and order.transaction_id and book.left == command.amount:
        # The order would become refunded, and the gateway plugin lets go of what it holds.
        return Permanent(
            "would_release",
            f"the shop takes payment {order.transaction_id} for one that was only authorised, and a full record would release it: "
            "write it down by hand",
        )
    return None


def _refuse(book: Book, command: RefundCommand) -> Permanent | None:
    if command.amount.currency != book.order.currency:
        return Permanent("currency_mismatch", f"the order is in {book.order.currency}, not {command.amount}")
    if command.amount.minor <= 0:
        return Permanent("amount_unsupported", f"{command.amount} cannot be given back")
    if command.takes_out:
        parts = parts_of(book, command.lines)
        return parts if isinstance(parts, Permanent) else None
    return None


def recorded_already(book: Book, command: RecordOrderRefund) -> Outcome | None:
    """The record, where it is there: ours, or one that a gateway plugin wrote when its payer told it of the same refunds."""
    ours = book.ours(command.step_key)
    if ours:
        return judge_record(ours, command)
    references = [r for r in (part.strip() for part in command.refund_references.split(",")) if len(r) >= 6]
    if not references or command.takes_out:
        return None
    theirs = [r for r in book.refunds if not r.step_key and not r.marks.isdisjoint(references)]
    named = {reference for record in theirs for reference in references if reference in record.marks}
    is_all = named == set(references) and sum(r.amount.minor for r in theirs) == command.amount.minor
    if not is_all:
        return None
    return AlreadyDone(", ".join(r.refund_id for r in theirs), "written down by the payer's own plugin")


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_failure(response: Response, *, is_write: bool = False) -> NoAnswer:
    """An answer that is not the one hoped for. On a write only what WordPress says before it acts is a no."""
    status = response.status
    code, message = error_of(response.json)
    told = f"WooCommerce answered {status}" + (f": {code}: {message}" if code else "")
    if status in (401, 403):
        return Retryable(
            "unauthorised",
            f"{told}; check REFUNDFLOW_WOOCOMMERCE_CONSUMER_KEY and _SECRET, that the key may read and write, and that the host "
            "passes the Authorization header on",
        )
    if status == 429:
        return Retryable("throttled", told, response.retry_after_s)
    if 300 <= status < 400:
        return Unknown(f"{told}, a redirect: set REFUNDFLOW_WOOCOMMERCE_BASE_URL to the address it leads to")
    if status >= 500 and not is_write:
        return Retryable("unavailable", told, response.retry_after_s)
    if 400 <= status < 500 and code and (not is_write or is_before_the_act(code)):
        return Permanent(code, message)
    if status == 404 and not code and not is_write:
        return Permanent(
            "wrong_address",
            "the shop has no /wp-json/wc/v3 there: check REFUNDFLOW_WOOCOMMERCE_BASE_URL, and that permalinks are not 'Plain'",
        )
    return Unknown(f"no clear answer: {told}")


def error_of(body: Any) -> tuple[str, str]:
    match body:
        case {"code": str(code), "message": str(message)} if code:
            return code, message
        case _:
            return "", ""


#: Codes of WordPress and of the orders controller that are said before anything is written. Those of the refunds controller
#: are not among them: it has one for everything.
_BEFORE_THE_ACT: Final = frozenset(
    {
        "woocommerce_rest_invalid_order_id",
        "woocommerce_rest_shop_order_invalid_id",
    }
)
_REFUNDS_CODE: Final = "woocommerce_rest_cannot_create_order_refund"

#: What the refunds controller says before it asks the gateway, with our code for it. In the shop's language: in any other
#: than English these are not known, and a person is asked.
REFUSALS: Final[Mapping[str, str]] = {
    "Invalid order ID.": "not_found",
    "Invalid refund amount.": "refunded_elsewhere",
    "The payment gateway for this order does not exist.": "no_automatic_refunds",
    "The payment gateway for this order does not support automatic refunds.": "no_automatic_refunds",
}


def is_before_the_act(code: str) -> bool:
    """Codes that begin with `rest_` are the framework's: no controller was reached."""
    return code.startswith("rest_") or code in _BEFORE_THE_ACT


def read_page(response: Response) -> Page | NoAnswer:
    pages = response.headers.get("x-wp-totalpages", "")
    match response.status, response.json:
        case 200, list(objects) if re.fullmatch(r"[0-9]{1,9}", pages):
            return Page(objects, int(pages))
        case 200, list():
            return Unknown(
                "a list without a page count: is it WooCommerce that answers, and all that it says?"
            )
        case _:
            return read_failure(response)


def read_webhooks(response: Response) -> str:
    """A line for people: the key works; and which order webhooks are switched off, as the shop does silently."""
    fine = f"the key is accepted; API {SPEC.api_version}"
    match read_page(response):
        case Page(objects=objects):
            off = [
                f"{hook_id} ({topic})"
                for value in objects
                for hook_id, topic in _webhook_off(value)
                if topic.startswith(("order.", "action."))
            ]
        case no:
            return f"{fine}; its webhooks cannot be read: {no.reason}"
    if off:
        return f"{fine}; webhooks that are switched off: {', '.join(off)} (polling goes on; switch them on in the shop)"
    return fine


def _webhook_off(value: Any) -> list[tuple[int, str]]:
    match value:
        case {"id": int(hook_id), "topic": str(topic), "status": "disabled"}:
            return [(hook_id, topic)]
        case _:
            return []


def id_of_number(value: Any, number: str) -> str:
    """The id of a listed order that has exactly this number; empty for another one."""
    match value:
        case {"id": int(order_id), "number": str(shown)} if shown.lstrip("#") == number:
            return str(order_id)
        case _:
            return ""


def read_order(response: Response, order_id: str) -> Order | NotFound | NoAnswer:
    match response.status, response.json:
        case 404, {"code": "woocommerce_rest_shop_order_invalid_id"}:
            return NotFound(0.0, f"the shop has no order {order_id}")
        case 200, dict() as value if str(value.get("id")) == order_id:
            return read_order_object(value)
        case _:
            return read_failure(response)


def read_order_object(value: Mapping[str, Any]) -> Order | NoAnswer:
    match value:
        case {
            "id": int(order_id),
            "status": str(status),
            "currency": str(currency),
            "total": str(total),
        } if re.fullmatch(r"[A-Z]{3}", currency):
            owed = money_of(total, currency)
        case _:
            return Unknown("the order cannot be read")
    created = time_of(value.get("date_created_gmt"))
    items = [
        read_item(node, kind, currency)
        for kind in ("line_items", "shipping_lines", "fee_lines")
        for node in _list(value.get(kind))
    ]
    refunds = value.get("refunds", [])
    if created is None or None in items or not isinstance(refunds, list):
        return Unknown(f"order {order_id} has parts that cannot be read")
    if owed is None:
        return Permanent("amount_unsupported", f"{total!r} is no amount that {currency} can be paid in")
    meta = meta_of(value)
    billing = value.get("billing")
    person = billing if isinstance(billing, dict) else {}
    completed = time_of(value.get("date_completed_gmt"))
    return Order(
        order_id=str(order_id),
        number=_text(value.get("number")) or str(order_id),
        status=status,
        created_at=created,
        modified_at=time_of(value.get("date_modified_gmt")),
        total=owed,
        is_paid=time_of(value.get("date_paid_gmt")) is not None,
        # What was completed once stays so through a cancel or a full refund: the goods had left.
        is_shipped=status == "completed" or (status in ("cancelled", "refunded") and completed is not None),
        gateway=_text(value.get("payment_method")),
        transaction_id=_text(value.get("transaction_id")),
        email=_text(person.get("email")),
        phone=phone_of(_text(person.get("phone"))),
        customer_name=" ".join(
            part for name in ("first_name", "last_name") if (part := _text(person.get(name)))
        ),
        items=tuple(item for item in items if item is not None),
        refund_ids=frozenset(str(node["id"]) for node in refunds if isinstance(node, dict) and "id" in node),
        step_key=_text(meta.get(STEP_KEY)),
        key=_text(meta.get(WIRE_KEY)),
    )


def phone_of(written: str) -> str:
    """A number in the international form (E.164); empty where it was not written so: a country is never guessed."""
    digits = re.sub(r"[\s().\-/]", "", written)
    return digits if re.fullmatch(r"\+[1-9]\d{6,14}", digits) else ""


def read_item(node: Any, kind: str, currency: str) -> Item | None:
    """A line of an order, its amounts rounded to the currency's minor units."""
    is_article = kind == "line_items"
    match node:
        case {"id": int(item_id), "total": total}:
            net = rounded(total, currency)
        case _:
            return None
    quantity = node.get("quantity", 0) if is_article else 0
    taxes = read_taxes(node.get("taxes"), currency)
    whole_tax = rounded(node.get("total_tax", "0"), currency)
    if net is None or taxes is None or whole_tax is None or not _is_whole(quantity):
        return None
    meta = meta_of(node)
    return Item(
        item_id=item_id,
        is_article=is_article,
        quantity=quantity,
        net=net,
        taxes=taxes,
        tax_untold=0 if taxes else whole_tax,
        sku=_text(node.get("sku")),
        title=_text(node.get("name")),
        reduced=units_of(meta.get("_reduced_stock")),
        restocked=units_of(meta.get("_restock_refunded_items")),
    )


def read_taxes(nodes: Any, currency: str) -> tuple[tuple[int, int], ...] | None:
    taxes = []
    for node in _list(nodes):
        match node:
            case {"id": int(rate), "total": total}:
                tax = rounded(total, currency)
            case _:
                return None
        if tax is None:
            return None
        if tax:
            taxes.append((rate, tax))
    return tuple(taxes)


def read_refund_record(value: Any, currency: str) -> RefundRecord | NoAnswer:
    """A refund of an order in that currency: the refund itself does not name one."""
    match value:
        case {"id": int(refund_id), "amount": str(text)}:
            amount = money_of(text, currency)
        case _:
            return Unknown("a refund in the shop cannot be read")
    items = [
        read_refunded_item(node, kind, currency)
        for kind in ("line_items", "shipping_lines", "fee_lines")
        for node in _list(value.get(kind))
    ]
    if None in items:
        return Unknown(f"refund {refund_id} has lines that cannot be read")
    if amount is None:
        return Permanent(
            "amount_unsupported", f"refund {refund_id} is over {text!r}, which is none in {currency}"
        )
    meta = meta_of(value)
    reason = _text(value.get("reason"))
    return RefundRecord(
        refund_id=str(refund_id),
        amount=amount,
        is_paid=value.get("refunded_payment") is True,
        step_key=_text(meta.get(STEP_KEY)) or step_key_in(reason),
        items=tuple(item for item in items if item is not None),
        marks=frozenset(re.findall(r"[\w-]+", " ".join([reason, *(_text(told) for told in meta.values())]))),
    )


def read_refunded_item(node: Any, kind: str, currency: str) -> Item | None:
    """A refund's line, negative as the shop shows it, as units and amounts of the order line that it names."""
    item = read_item(node, kind, currency)
    if item is None:
        return None
    named = str(meta_of(node).get("_refunded_item_id", ""))
    if not is_id(named):
        return None
    return replace(
        item,
        item_id=int(named),
        quantity=abs(item.quantity),
        net=-item.net,
        taxes=tuple((rate, -tax) for rate, tax in item.taxes),
        tax_untold=-item.tax_untold,
    )


def read_created(response: Response, currency: str) -> RefundRecord | Refusal | NoAnswer:
    """The answer to a new refund."""
    match response.status, response.json:
        case 200 | 201, {"id": _, "amount": _} as value:
            match read_refund_record(value, currency):
                case RefundRecord() as record:
                    return record
                case no:
                    return Unknown(f"the new refund cannot be read: {no.reason}")
        case _:
            pass
    code, message = error_of(response.json)
    if code == _REFUNDS_CODE and message in REFUSALS:
        return Refusal(REFUSALS[message], f"WooCommerce refused: {message}")
    match read_failure(response, is_write=True):
        case Permanent(code=refused, reason=reason):
            return Refusal(refused, reason)
        case told:
            return told


def read_cancel(response: Response, command: CancelOrder) -> Outcome:
    match response.status, response.json:
        case 200, {"id": int(order_id), "status": "cancelled"} if str(order_id) == command.order_id:
            return Done(command.order_id)
        case 200, {"id": int(order_id), "status": str(status)} if str(order_id) == command.order_id:
            return Unknown(f"the order was to be cancelled, and the answer says {status!r}")
        case _:
            return read_failure(response, is_write=True)


def order_facts(book: Book) -> OrderFacts:
    order = book.order
    lines = []
    for item in order.items:
        if not item.is_article or item.quantity <= 0:
            continue
        left = book.left_of(item).quantity
        unit = Decimal(item.gross) / item.quantity
        lines.append(
            OrderLine(
                line_id=str(item.item_id),
                sku=item.sku,
                title=item.title,
                quantity=left,
                # Core knows no shipments: an order is completed, or nothing of it has left.
                unfulfilled=0 if order.is_shipped else left,
                refundable=left,
                unit=Money(int(unit.to_integral_value(ROUND_HALF_UP)), order.currency),
            )
        )
    is_cancelled = order.status == "cancelled" or (order.status == "refunded" and bool(order.step_key))
    is_reduced = any(item.reduced for item in order.items if item.is_article)
    return OrderFacts(
        platform=SPEC.platform,
        order_id=order.order_id,
        number=order.number,
        created_at=order.created_at,
        currency=order.currency,
        total=order.total,
        email=order.email,
        phone=order.phone,
        lines=tuple(lines),
        payments=_payments(order),
        # The shop keeps no time of the cancel: it is no later than the last change.
        cancelled_at=(order.modified_at or order.created_at) if is_cancelled else None,
        customer_name=order.customer_name,
        cancels=TakesBack.CALL,
        cancels_lines=TakesBack.REFUND,
        cancel_refusal=_cancel_refusal(order.status),
        is_restock_carried=True,
        records_refunds=True,
        releases_authorisations=True,
        restocks_itself=is_reduced,
        is_stock_taken=is_reduced,
    )


def _payments(order: Order) -> tuple[OrderPayment, ...]:
    """The order's one payment; none where nothing was paid and nothing is held."""
    if order.total.minor <= 0 or not (order.is_paid or order.transaction_id):
        return ()
    return (OrderPayment(order.order_id, order.gateway, order.transaction_id, order.is_paid, order.total),)


def _cancel_refusal(status: str) -> str:
    if status in _STATUSES:
        return ""
    if status in _NO_ORDERS_YET:
        return f"it is {status!r}"
    return f"its status {status!r} is none of WooCommerce's own: look whether it was shipped"


def payment_facts(book: Book) -> PaymentFacts:
    """Refunds that were only written down count as given back: somebody paid them by another way. One of ours that the
    gateway has not confirmed may be on its way.
    """
    order = book.order
    nothing = Money(0, order.currency)
    match order.is_paid, bool(order.transaction_id):
        case True, _:
            state = PaymentState.CAPTURED
        case False, True:
            state = PaymentState.AUTHORISED
        case _:
            state = PaymentState.NOT_PAID
    return PaymentFacts(
        platform=SPEC.platform,
        reference=order.order_id,
        state=state,
        authorised=order.total if state is PaymentState.AUTHORISED else nothing,
        captured=order.total if state is PaymentState.CAPTURED else nothing,
        refunds=tuple(
            RefundFact(
                record.refund_id,
                record.amount,
                RefundStatus.PENDING if record.step_key and not record.is_paid else RefundStatus.SUCCEEDED,
                record.step_key,
            )
            for record in book.refunds
        ),
        gateway=order.gateway,
        order_number=order.number,
        refund_refusal=(
            f"the shop's payment method {order.gateway!r} sends no money back by itself"
            if order.gateway in _OFFLINE
            else ""
        ),
    )


_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


def money_of(text: str, currency: str) -> Money | None:
    """An amount that must be exact in the currency's minor units; None where it is not."""
    if not _AMOUNT.fullmatch(text):
        return None
    exact = Decimal(text).scaleb(exponent_of(currency))
    return Money(int(exact), currency) if exact == exact.to_integral_value() else None


def rounded(value: Any, currency: str) -> int | None:
    """A line's amount in minor units, rounded: lines are kept with more decimals than can be paid. An empty one is zero."""
    match value:
        case "" | None:
            return 0
        case str() | int() | Decimal() if _AMOUNT.fullmatch(str(value)):
            exact = Decimal(str(value)).scaleb(exponent_of(currency))
            return int(exact.to_integral_value(ROUND_HALF_UP))
        case _:
            return None


def units_of(value: Any) -> int:
    """A number of units in a meta, text or number; part of a unit is one."""
    text = str(value)
    return (
        int(Decimal(text).to_integral_value(ROUND_CEILING))
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text)
        else 0
    )


def time_of(value: Any) -> datetime | None:
    """A time without a zone, which means UTC in the `_gmt` fields."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value):
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        return None


def meta_of(node: Mapping[str, Any]) -> dict[str, Any]:
    """The meta data by key; of several under one key the last one counts."""
    return {
        entry["key"]: entry.get("value")
        for entry in _list(node.get("meta_data"))
        if isinstance(entry, dict) and isinstance(entry.get("key"), str)
    }


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# ---------------------------------------------------------------------------------------------------------------------
# Polling


@dataclass(frozen=True, slots=True)
class Window:
    """Orders changed after `since` (aware UTC); `page` of them; `then`: where the next window begins."""

    since: datetime
    page: int
    then: datetime

    def following(self, *, has_more: bool) -> Window:
        return replace(self, page=self.page + 1) if has_more else Window(self.then, 1, self.then)


def read_cursor(cursor: str, now: datetime) -> Window:
    """The window that a cursor names. A new one begins where the one before began, less the overlap; the first one, and one
    that cannot be read, begin a day back.
    """
    since, _, rest = cursor.partition("/")
    page, _, then = rest.partition("/")
    began, following = time_of(since), time_of(then)
    here = now.astimezone(UTC).replace(microsecond=0)
    if began is None:
        return Window(here - _POLL_FIRST, 1, here - POLL_OVERLAP)
    if following is None or not re.fullmatch(r"[0-9]{1,6}", page) or int(page) <= 1:
        return Window(began, 1, here - POLL_OVERLAP)
    return Window(began, int(page), following)


def write_cursor(window: Window) -> str:
    return f"{_stamp(window.since)}/{window.page}/{_stamp(window.then)}"


def _stamp(time: datetime) -> str:
    """Without an offset: with one, the shop would turn it into its own time."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def poll_request(window: Window) -> Request:
    return Request(
        "GET",
        f"{_API}/orders",
        "woocommerce.poll",
        params=[
            ("modified_after", _stamp(window.since)),
            ("dates_are_gmt", "true"),
            ("per_page", str(_PAGE)),
            ("page", str(window.page)),
            ("orderby", "id"),
            ("order", "asc"),
            ("_fields", "id,number,status,date_modified_gmt,refunds"),
        ],
    )


@dataclass(frozen=True, slots=True)
class ChangedOrder:
    """What a delivery or a list says of an order, as much as matters."""

    order_id: int
    number: str
    status: str
    modified: str
    refund_ids: tuple[int, ...]

    @property
    def is_news(self) -> bool:
        return self.status in ("cancelled", "refunded") or bool(self.refund_ids)

    @property
    def event_id(self) -> str:
        """The same for a delivery and for polling. The delivery's own id is not unique, and a delivery can be late."""
        refunds = ".".join(map(str, self.refund_ids))
        return f"{self.order_id}/{self.modified}/{self.status}/{refunds}"


def read_changed_order(value: Any) -> ChangedOrder | None:
    match value:
        case {"id": int(order_id), "status": str(status)} if _is_whole(order_id) and order_id > 0 and status:
            ids = [
                n["id"] for n in _list(value.get("refunds")) if isinstance(n, dict) and _is_whole(n.get("id"))
            ]
            return ChangedOrder(
                order_id,
                _text(value.get("number")),
                status,
                _text(value.get("date_modified_gmt")),
                tuple(sorted(ids)),
            )
        case _:
            return None


def polled_event(order: ChangedOrder) -> PolledEvent:
    """In the words of a delivery, without the customer."""
    body = {
        "id": order.order_id,
        "number": order.number,
        "status": order.status,
        "date_modified_gmt": order.modified,
        "refunds": [{"id": refund_id} for refund_id in order.refund_ids],
    }
    return PolledEvent(order.event_id, "order.updated", json.dumps(body).encode())


# ---------------------------------------------------------------------------------------------------------------------
# Deliveries

_ORDER_TOPICS: Final = frozenset({"order.created", "order.updated", "order.restored"})
_CANCELLED_TOPIC: Final = "action.woocommerce_order_status_cancelled"
_PING: Final = re.compile(rb"webhook_id=[0-9]{1,12}")
_ENTITY: Final = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#0*(34|39)|#[xX]0*(22|27));")
_ENTITIES: Final[Mapping[str, str]] = {
    "amp": "&",
    "lt": "<",
    "gt": ">",
    "quot": '"',
    "apos": "'",
    "34": '"',
    "39": "'",
    "22": '"',
    "27": "'",
}


def decode_secret(secret: str) -> str:
    """The secret as the shop signs with it: it may be stored, and shown, with HTML entities."""
    return _ENTITY.sub(lambda found: _ENTITIES[found[1] or found[2] or found[3]], secret)


@dataclass(frozen=True, slots=True)
class WooCommerceInbound:
    """Webhooks of a shop. `secrets`: the webhook's own, several with commas between them while one is being replaced.

    The signature covers the body alone, not the topic, and no time: what the body says is looked up before it is believed.
    """

    platform: ClassVar[str] = SPEC.platform
    secrets: Secret

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused | Greeting:
        """A new webhook tries its address out with a form that nobody signed; it names no order and does nothing."""
        signature = delivery.headers.get("x-wc-webhook-signature", "")
        if not signature and _PING.fullmatch(delivery.body):
            return Greeting("a new webhook tries its address out")
        secrets = [decode_secret(secret) for secret in split_secrets(self.secrets.reveal())]
        if not secrets:
            return Refused("no webhook secret is set")
        topic = delivery.headers.get("x-wc-webhook-topic", "")
        if not signature or not topic:
            return Refused("the signature or the topic is missing")
        if not is_any((sign_base64(secret, delivery.body) for secret in secrets), (signature,)):
            return Refused("the signature does not match")
        order = read_changed_order(parse_json(delivery.body)) if topic in _ORDER_TOPICS else None
        if order is not None:
            return Verified(order.event_id, topic)
        # Such a body is the same each time; with the second of its sending it is not.
        sent = delivery.headers.get("x-wc-webhook-delivery-id", "")
        digest = hashlib.sha256(topic.encode("utf-8", "replace") + b"\n" + delivery.body).hexdigest()
        return Verified(f"{digest[:32]}/{sent[:64]}", topic)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an order's event lacks what it must have."""
        value = parse_json(body)
        if topic == _CANCELLED_TOPIC:
            match value:
                case {"arg": int(order_id)} if order_id > 0:
                    return OrderCancelledElsewhere(OrderRef(SPEC.platform, str(order_id)))
                case _:
                    raise MalformedError("arg", "is no order id")
        if topic not in _ORDER_TOPICS:
            return Irrelevant(f"{topic} asks nothing of us")
        order = read_changed_order(value)
        if order is None:
            raise MalformedError("id", "an order's id and status are missing")
        ref = OrderRef(SPEC.platform, str(order.order_id), order.number)
        if order.status == "cancelled":
            return OrderCancelledElsewhere(ref)
        if order.is_news:
            # Whether the shop is the payer routing knows, not the delivery; where it is not, no payment of that name is known.
            return PaymentRefundsChanged(SPEC.platform, str(order.order_id), ref)
        return Irrelevant(f"an order that is {order.status!r}, without refunds")
