"""BigCommerce: the shop platform. Reads and cancels orders, puts stock back, gives money back through the store's gateways,
and writes down what others gave back.

Orders are a v2 resource; refunds, quotes, void, transactions and metafields of an order, inventory and its settings are v3
(github.com/bigcommerce/docs of 2026-04-01, read 2026-11-25; the URLs carry the versions). Authorised by the token of an API
account, which does not expire. Scopes: orders (modify), order transactions (read), inventory (modify), and the one that opens
the store's settings for reading.

Quirks
- `status_id` 5 is the cancel. No move is forbidden, no money moves with it, and a later refund writes 4 or 14 over it: what
  tells a cancel of ours from then on is the staff note, which is written by the same call. An order that is refunded in full
  and of which nothing was shipped counts as cancelled too, so that a second case does not cancel and restock it again.
- There are no idempotency keys. Before anything is done, the step claims its wire key as a metafield of the order, of which
  there can be only one (409); refunds carry the wire key in the reason of each item, and are looked for before every call.
- A refund must be paid in exactly one of the ways that a quote offers, with its amounts; the first one offered can be store
  credit. A way that spreads the amount over several payments is not the payment that was asked for: a person does that.
- 201 to a refund means accepted. That the money went is told by the refund's transaction, that it did not by `is_declined`,
  which can come late and then decides.
- A quote for some units of an order that was paid in several ways is more than one payment's share; the smaller amount is
  then forced, and BigCommerce leaves its records of tax alone.
- Whether a cancel or a refund made by API puts stock back by itself is told differently by the vendor's own documents. Each
  step that takes units out of an order writes the stock levels of before into its claim; `restock` compares, and adds only
  what certainly did not come back. Where the levels do not tell, a person does it. Where another system owns the stock,
  switch the store's adjustment of stock on refunds off: a cancel cannot be kept from it.
- v2 answers an empty list with 204 and no body, and amounts with texts of four places; v3 amounts are JSON numbers.
- Whether webhooks carry a signature seems to depend on how the hook was made: see `Credentials.signature_required`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from enum import StrEnum
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
from refundflow.domain.commands import CancelOrder, Command, RecordOrderRefund, Refund, Restock, VoidPayment
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
from refundflow.domain.ids import case_of
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
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
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, is_fresh, sign_base64, split_secrets

_DOC: Final = "https://developer.bigcommerce.com/docs"
_ORDERS_DOC: Final = f"{_DOC}/rest-management/orders"
_ACTIONS_DOC: Final = f"{_DOC}/rest-management/transactions/payment-actions"

SPEC: Final = Spec(
    platform="bigcommerce",
    api_version="v2 and v3",
    base_url="https://api.bigcommerce.com",
    operations={
        Capability.READ_ORDER: Operation("GET /v2/orders/{order_id}", Idempotency.READ, _ORDERS_DOC),
        # A POST without an effect: it only computes.
        Capability.QUOTE_LINES: Operation(
            "POST /v3/orders/{order_id}/payment_actions/refund_quotes", Idempotency.READ, _ACTIONS_DOC
        ),
        # The second PUT of the same status changes nothing; the note is read before it is written.
        Capability.CANCEL_ORDER: Operation("PUT /v2/orders/{order_id}", Idempotency.NATURAL, _ORDERS_DOC),
        Capability.RESTOCK: Operation(
            "POST /v3/inventory/adjustments/relative",
            Idempotency.LOOKUP,
            f"{_DOC}/rest-management/inventory/adjustments",
        ),
        Capability.READ_PAYMENT: Operation(
            "GET /v3/orders/{order_id}/transactions",
            Idempotency.READ,
            f"{_DOC}/rest-management/transactions",
        ),
        Capability.REFUND: Operation(
            "POST /v3/orders/{order_id}/payment_actions/refunds", Idempotency.LOOKUP, _ACTIONS_DOC
        ),
        Capability.VOID_PAYMENT: Operation(
            "POST /v3/orders/{order_id}/payment_actions/void", Idempotency.NATURAL, _ACTIONS_DOC
        ),
        Capability.RECORD_ORDER_REFUND: Operation(
            "POST /v3/orders/{order_id}/payment_actions/refunds", Idempotency.LOOKUP, _ACTIONS_DOC
        ),
        Capability.CHECK: Operation("GET /v2/orders", Idempotency.READ, _ORDERS_DOC),
        Capability.INBOUND: Operation(
            "webhook", Idempotency.READ, f"{_DOC}/integrations/webhooks/https-webhooks"
        ),
        Capability.POLL: Operation("GET /v2/orders", Idempotency.READ, _ORDERS_DOC),
    },
    # The smallest plan gives 150 calls in 30 seconds to all apps of the store together: 20 at once and 60 after are about
    # half of that. A step makes up to ten calls in a row, so a small burst would stop it half-way.
    rate_per_s=2.0,
    burst=20,
    # Orders carry the customer's addresses and whatever was noted about them, transactions parts of cards and gift codes.
    redact=frozenset(
        {
            "avs_result",
            "billing_address",
            "card_expiry_month",
            "card_expiry_year",
            "card_iin",
            "card_last4",
            "company",
            "credit_card",
            "customer_message",
            "cvv_result",
            "email",
            "first_name",
            "form_fields",
            "gift_certificate",
            "ip_address",
            "ip_address_v6",
            "last_name",
            "payment_instrument_token",
            "phone",
            "provider_customer_id",
            "provider_instrument_token",
            "shipping_address",
            "staff_notes",
            "street_1",
            "street_2",
            "wrapping_message",
            "x-auth-token",
            "x-refundflow-token",
            "zip",
        }
    ),
    # Several calls in a row have to end within the step's lease.
    read_s=12.0,
)

#: Where our claims and notes stand among an order's metafields.
NAMESPACE: Final = "refundflow"

#: How long after a send an absence proves that nothing was written; nobody publishes how soon a list shows what was made.
CONCLUSIVE_S: Final = 60.0
#: A claim younger than this may belong to a call that still runs. Below CONCLUSIVE_S, so that the flow's own repeat passes.
_CLAIM_S: Final = 45.0
#: A gateway takes up to a day to settle a payment.
_SETTLES_S: Final = 4 * 3600.0
#: How long a restock waits for the order's money to go back, at first and later: half a day in all.
_STOCK_WAIT_S: Final = 150.0
_STOCK_LONG_WAIT_S: Final = 2 * 3600.0
#: A 429 without the quota's headers is said to mean that the platform is overloaded.
_OVERLOADED_S: Final = 60.0

_PAGE: Final = 250
_MOST_PAGES: Final = 20
_MOST_NOTES: Final = 65_000
_OVERLAP: Final = timedelta(minutes=5)

INCOMPLETE, PENDING, SHIPPED, PARTLY_SHIPPED, REFUNDED, CANCELLED, DECLINED, AWAITING_PAYMENT = range(8)
COMPLETED, DISPUTED, PARTLY_REFUNDED = 10, 13, 14

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """One store. `store_hash`: the part of the API's address after `/stores/`; `access_token`: of an API account;
    `client_secret`: of the same account, webhooks are signed with it; `hook_token`: the value of the `X-Refundflow-Token`
    header that was given to the hook when it was made (of both, several with commas between them while one is rotated);
    `signature_required`: "no" lets a delivery pass that carries no signature at all, on the strength of the token alone;
    `base_url`: without `/stores/…`.

    Raises ValueError for a hash that is none and for another word than yes or no.
    """

    store_hash: str
    access_token: Secret
    client_secret: Secret = _NO_SECRET
    hook_token: Secret = _NO_SECRET
    signature_required: str = "yes"
    base_url: str = SPEC.base_url

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9]{1,32}", self.store_hash, re.ASCII):
            raise ValueError(f"store_hash is letters and digits, not {self.store_hash!r:.40}")
        if self.signature_required not in ("yes", "no"):
            raise ValueError(f"signature_required is yes or no, not {self.signature_required!r:.20}")

    @property
    def url(self) -> str:
        return f"{self.base_url.rstrip('/')}/stores/{self.store_hash}"

    @property
    def inbound(self) -> BigCommerceInbound:
        """The reader of this store's deliveries."""
        return BigCommerceInbound(
            self.client_secret, self.hook_token, self.store_hash, self.signature_required != "no"
        )


def build(credentials: Credentials, wire: Wire) -> BigCommerce:
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        headers={"X-Auth-Token": credentials.access_token.reveal(), "Accept": "application/json"},
        redact=SPEC.redact,
    )
    return BigCommerce(http)


# ---------------------------------------------------------------------------------------------------------------------
# Wire types


@dataclass(frozen=True, slots=True)
class Order:
    """An order of v2. `notes`: the staff's; `shipped`: units; `store_credit`, `gift_certificate`: what was paid with them;
    `payment_id`: the gateway's id of the payment.
    """

    order_id: str
    status_id: int
    payment_status: str
    currency: str
    total: Money
    created_at: datetime
    modified_at: datetime
    notes: str
    shipped: int
    is_deleted: bool
    is_tax_inclusive: bool
    channel_id: int
    source: str
    payment_method: str
    payment_id: str
    store_credit: Money
    gift_certificate: Money
    email: str = ""
    customer_name: str = ""
    locale: str = ""

    @property
    def number(self) -> str:
        return self.order_id

    @property
    def is_cancelled(self) -> bool:
        """Status 5; or a refund wrote over it: our cancel's note is there, or all is refunded and nothing was shipped."""
        if self.status_id == CANCELLED:
            return True
        if self.shipped or self.status_id not in (REFUNDED, PARTLY_REFUNDED):
            return False
        return self.status_id == REFUNDED or bool(_CANCEL_NOTE.search(self.notes))

    def is_cancelled_by(self, step_key: str) -> bool:
        return self.is_cancelled and step_key in _CANCEL_NOTE.findall(self.notes)


@dataclass(frozen=True, slots=True)
class Product:
    """A line of an order. `quantity`: as ordered; `unit`: rounded to minor units, a quote says what units are worth."""

    line_id: str
    variant_id: int
    sku: str
    title: str
    quantity: int
    shipped: int
    refunded: int
    unit: Money
    is_wrapped: bool


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a gateway did, or tried. `reference`: its own id."""

    transaction_id: str
    event: str
    provider: str
    amount: Money
    is_ok: bool
    reference: str


@dataclass(frozen=True, slots=True)
class Payback:
    """One payment of a refund."""

    provider: str
    amount: Money
    is_offline: bool
    is_declined: bool
    why: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class RefundRecord:
    """A refund of the list. `keys`: the wire keys of ours that its items carry; `amounts`: what was refunded of shipping,
    handling and fees, by item type and id.
    """

    refund_id: str
    paybacks: tuple[Payback, ...]
    keys: frozenset[str]
    amounts: Mapping[tuple[str, int], Money]

    @property
    def is_declined(self) -> bool:
        return all(p.is_declined for p in self.paybacks)

    @property
    def step_key(self) -> str:
        return next((step_of(key) for key in sorted(self.keys)), "")


@dataclass(frozen=True, slots=True)
class Paid:
    """What was paid through one provider. `reference`: the gateway's id; `is_capturing`: a capture is under way."""

    provider: str
    state: PaymentState
    authorised: Money
    captured: Money
    reference: str = ""
    is_capturing: bool = False

    @property
    def tender(self) -> Tender:
        return TENDERS.get(self.provider, Tender.CARD)


@dataclass(frozen=True, slots=True)
class Option:
    """One payment in a way to pay back. `provider_id`: as it must be repeated; `is_offline`: it can only be recorded."""

    provider_id: str
    amount: Money
    is_offline: bool
    why: str

    @property
    def provider(self) -> str:
        return slug_of(self.provider_id)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a refund would come to, and each whole way to pay it."""

    total: Money
    tax: Money
    ways: tuple[tuple[Option, ...], ...]


#: Units in stock by variant and location.
Levels = Mapping[int, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Note:
    """One of our metafields. `takes`: the units that its step takes out of the order, None for the whole order (an empty
    mapping: none); `levels`: stock just before; None where it could not be read.
    """

    note_id: int
    key: str
    takes: Mapping[str, int] | None
    levels: Levels | None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StockSettings:
    """How the store moves stock by itself. `is_returned`: when an order is cancelled or refunded; `is_taken_early`: when it
    is placed, not only when it is shipped or completed.
    """

    is_returned: bool
    is_taken_early: bool


@dataclass(frozen=True, slots=True)
class Habits:
    """What a restock must know of the store. `is_paid_back`: all that was captured has gone back, or nothing was captured."""

    settings: StockSettings
    is_paid_back: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """What a restock finds: `notes` are ours, oldest first, `own` the first claim of this step; `asked_at`: the vendor's time."""

    order: Order
    products: Sequence[Product]
    notes: Sequence[Note]
    own: Note | None
    asked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stock:
    """The levels now, and the units to put back by variant, as far as BigCommerce keeps stock of them."""

    scene: Scene
    levels: Levels
    units: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Agreed:
    """Items whose quote is the wanted amount. `forced`: our own sum for them, where they are worth more than this payment bears."""

    items: Sequence[Mapping[str, Any]]
    quote: Quote
    forced: Mapping[str, Any] | None = None


class Claim(StrEnum):
    OURS = "ours"
    TAKEN = "taken"


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment's reference: `1001:stripe`; without a provider it is the order's only payment."""

    order_id: str
    provider: str


#: Providers inside BigCommerce that are not a gateway.
TENDERS: Final[Mapping[str, Tender]] = {
    "storecredit": Tender.STORE_CREDIT,
    "giftcertificate": Tender.GIFT_CARD,
}
#: Providers that BigCommerce can only keep records of.
OFFLINE: Final = frozenset({"bankdeposit", "cheque", "cod", "custom", "instore", "moneyorder"})
#: Names of payment methods whose provider is called otherwise; a shop may rename them, then they stand as they are.
_METHODS: Final[Mapping[str, str]] = {
    "cashondelivery": "cod",
    "check": "cheque",
    "manual": "custom",
    "payinstore": "instore",
    "testpaymentgateway": "testgateway",
}


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class BigCommerce:
    """One store: OrderPlatform, StockOwner, Refunder, Voider, RefundRecorder and Poller. An order's number is its id."""

    spec: ClassVar[Spec] = SPEC
    http: Http

    def check(self) -> Health:
        response = self.http.send(check_request())
        match response.status, response.json:
            case 204, _:
                return Health(True, "the token is accepted; the store has no orders")
            case 200, [{"id": int()}, *_]:
                return Health(True, "the token is accepted")
            case _:
                return Health(False, read_failure(response).reason)

    # ------------------------------------------------------------ orders

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """Four calls: the order, its lines, its transactions, and what the store does with stock by itself (one more per
        further 250 lines, and for a channel with settings of its own).
        """
        order_id = ref.order_id or ref.number.lstrip("#")
        if not is_order_id(order_id):
            return Permanent("unknown_reference", f"{order_id!r:.40} is no order of BigCommerce: a number")
        order = self._order(order_id)
        if not isinstance(order, Order):
            return order
        products = self._products(order)
        if not isinstance(products, list):
            return products
        transactions = self._transactions(order)
        if not isinstance(transactions, list):
            return transactions
        settings = self._stock_settings(order)
        if isinstance(settings, Retryable) and settings.code != "unauthorised":
            return settings
        # An account that may not read these settings does not own the stock; then the shop itself must see to them.
        restocks_itself = isinstance(settings, StockSettings) and settings.is_returned
        return order_facts(order, products, transactions, restocks_itself=restocks_itself)

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """What BigCommerce itself would give back for these units, with tax and gift wrapping. Of an order on which nothing
        was captured it quotes nothing: then it is the units' prices.
        """
        if not is_order_id(order.order_id) or not are_lines(lines):
            return Permanent("unknown_reference", "the order or a line is not one of BigCommerce")
        products = self._products_of(order.order_id, order.currency)
        if not isinstance(products, list):
            return products
        units = units_of(lines)
        quote = self._quote(order.order_id, order.currency, product_items(units, products))
        if isinstance(quote, Quote):
            return quote.total
        if order.payments and any(p.is_captured for p in order.payments):
            return quote
        prices = {p.line_id: p.unit for p in products}
        if (
            isinstance(quote, Permanent | Retryable)
            and _is_about_settling(quote)
            and set(units) <= set(prices)
        ):
            return Money(sum(prices[line].minor * n for line, n in units.items()), order.currency)
        return quote

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Five calls: the order, its lines, their stock levels, the claim that keeps these, and the cancel."""
        if not is_order_id(command.order_id):
            return _no_order(command.order_id)
        if command.restock:
            return Permanent(
                "restock_not_carried",
                "a cancel here does not certainly put stock back: that is a step of its own",
            )
        order = self._order(command.order_id)
        if not isinstance(order, Order):
            return _gone(order, command.order_id)
        refusal = refused_cancel(order)
        if refusal is not None:
            return refusal
        match judge_cancel(order, command):
            case NotFound():
                pass
            case found:
                return found
        products = self._products(order)
        if not isinstance(products, list):
            return _gone(products, command.order_id)
        if any(p.shipped for p in products):
            return Permanent("shipped_meanwhile", f"units of order {order.number} were shipped meanwhile")
        claim = self._claim(command.order_id, command, None, products)
        if claim is not None:
            return claim
        return read_cancel(self.http.send(cancel_request(command, order.notes)), command)

    def find_cancel_order(self, command: CancelOrder) -> Found:
        if not is_order_id(command.order_id):
            return _no_order(command.order_id)
        order = self._order(command.order_id)
        return judge_cancel(order, command) if isinstance(order, Order) else _not_seen(order)

    # ------------------------------------------------------------ stock

    def restock(self, command: Restock) -> Outcome:
        """Adds what certainly did not come back by itself, once. Between five and ten calls, the adjustment last.

        Where the store's setting may still return the units with a refund that is not made yet, it waits (Retryable).
        """
        if command.carried_by:
            return Permanent("restock_not_carried", f"no call of {command.carried_by} puts stock back here")
        scene = self._scene(command)
        if not isinstance(scene, Scene):
            return _gone(scene, command.order_id)
        habits = self._habits(scene.order) if scene.own is None else None
        if isinstance(habits, Retryable | Permanent | Unknown):
            return habits
        # Levels last: what a refund returned by itself is in them once the refund is in the list.
        stock = self._stock(scene, command)
        if not isinstance(stock, Stock):
            return stock
        if not stock.units:
            return Done(command.order_id, "BigCommerce keeps no stock of these units")
        if habits is None:
            told = judge_adjusted(stock, command)
            if not isinstance(told, NotFound):
                return told
            if scene.own is not None and _is_young(scene.own, scene.asked_at):
                return Unknown("another attempt at this restock began less than a minute ago")
        else:
            verdict = judge_stock(command, stock, habits)
            if verdict is not StockVerdict.ADD:
                return tell_stock(verdict, command, stock)
        items = adjustment_items(stock, command.location)
        if isinstance(items, Permanent):
            return items
        if habits is not None:
            claim = self._claim_with(
                command.order_id, command, note_value(units_of(command.lines), stock.levels)
            )
            if claim is not None:
                return claim
        return read_adjustment(self.http.send(adjust_request(command, items)))

    def find_restock(self, command: Restock) -> Found:
        """Proof of our own adjustment only: units that came back by themselves are told by `restock`, which then adds none."""
        scene = self._scene(command)
        if not isinstance(scene, Scene):
            return _not_seen(scene)
        if scene.own is None:
            return NotFound(CONCLUSIVE_S, "no adjustment was begun under this key")
        stock = self._stock(scene, command)
        return judge_adjusted(stock, command) if isinstance(stock, Stock) else _not_seen(stock)

    # ------------------------------------------------------------ money

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Three calls. References are `1001:stripe`; the order alone (`1001`) is its only payment."""
        payment = payment_of(payment_reference, order_id)
        if payment is None:
            return _no_payment(payment_reference)
        order = self._order(payment.order_id)
        if not isinstance(order, Order):
            return order
        transactions = self._transactions(order)
        if not isinstance(transactions, list):
            return transactions
        records = self._refunds(order)
        if not isinstance(records, list):
            return records
        return payment_facts(order, payment, transactions, records)

    def refund(self, command: Refund) -> Outcome:
        payment = payment_of(command.payment_reference, command.order_id)
        if payment is None or not payment.provider:
            return _no_payment(command.payment_reference)
        order = self._order(payment.order_id)
        if not isinstance(order, Order):
            return _gone(order, payment.order_id)
        if order.status_id == DISPUTED:
            return Permanent(
                "disputed", f"order {order.number} is disputed: the provider may have taken the money already"
            )
        return self._pay_back(command, order, payment.provider)

    def find_refund(self, command: Refund) -> Found:
        """Two calls, three where our refund has to be proven or others have refunded the order."""
        payment = payment_of(command.payment_reference, command.order_id)
        if payment is None or not payment.provider:
            return _no_payment(command.payment_reference)
        order = self._order(payment.order_id)
        if not isinstance(order, Order):
            return _not_seen(order)
        records = self._refunds(order)
        if not isinstance(records, list):
            return _not_seen(records)
        if all(r.is_declined for r in records):
            return judge_refunds(records, [], command)
        transactions = self._transactions(order)
        if not isinstance(transactions, list):
            return _not_seen(transactions)
        match judge_refunds(records, transactions, command):
            case NotFound() as absent:
                return judge_rest(order, payment, transactions, records, command) or absent
            case found:
                return found

    def record_order_refund(self, command: RecordOrderRefund) -> Outcome:
        """Whatever the order's status is: a cancelled order's refund is written down like any other."""
        if not is_order_id(command.order_id):
            return _no_order(command.order_id)
        order = self._order(command.order_id)
        if not isinstance(order, Order):
            return _gone(order, command.order_id)
        return self._pay_back(command, order, "")

    def find_record_order_refund(self, command: RecordOrderRefund) -> Found:
        if not is_order_id(command.order_id):
            return _no_order(command.order_id)
        order = self._order(command.order_id)
        if not isinstance(order, Order):
            return _not_seen(order)
        records = self._refunds(order)
        return judge_record(records, command) if isinstance(records, list) else _not_seen(records)

    def void_payment(self, command: VoidPayment) -> Outcome:
        payment = payment_of(command.payment_reference, command.order_id)
        if payment is None:
            return _no_payment(command.payment_reference)
        order = self._order(payment.order_id)
        if not isinstance(order, Order):
            return _gone(order, payment.order_id)
        if order.payment_status != "authorized":
            found = self._judge_void(order, payment, command)
            return Unknown(found.reason) if isinstance(found, NotFound) else found
        return read_void(self.http.send(void_request(payment.order_id)), command)

    def find_void_payment(self, command: VoidPayment) -> Found:
        payment = payment_of(command.payment_reference, command.order_id)
        if payment is None:
            return _no_payment(command.payment_reference)
        order = self._order(payment.order_id)
        if not isinstance(order, Order):
            return _not_seen(order)
        return self._judge_void(order, payment, command)

    # ------------------------------------------------------------ polling

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """One page of the orders that changed. `cursor`: a time, and a page where the list went on."""
        since, page = read_cursor(cursor, now)
        listed = read_v2_list(self.http.send(poll_request(since, page)))
        if not isinstance(listed, list):
            return listed
        return read_polled(listed, since, page)

    # ------------------------------------------------------------ reads that several methods share

    def _order(self, order_id: str) -> Order | NotFound | NoAnswer:
        return read_order(self.http.send(order_request(order_id)), order_id)

    def _products(self, order: Order) -> list[Product] | NoAnswer:
        return self._products_of(order.order_id, order.currency)

    def _products_of(self, order_id: str, currency: str) -> list[Product] | NoAnswer:
        listed = self._v2_list(order_id, "products")
        return read_products(listed, currency) if isinstance(listed, list) else listed

    def _v2_list(self, order_id: str, name: str) -> list[Any] | NoAnswer:
        """Every object of a list below an order, over all its pages."""
        objects: list[Any] = []
        for page in range(1, _MOST_PAGES + 1):
            listed = read_v2_list(self.http.send(list_request(order_id, name, page)))
            if not isinstance(listed, list):
                return listed
            objects += listed
            if len(listed) < _PAGE:
                return objects
        return Unknown(f"{name} of order {order_id} go on after {_MOST_PAGES} pages")

    def _transactions(self, order: Order) -> list[Transaction] | NoAnswer:
        listed = read_data(self.http.send(transactions_request(order.order_id)))
        return read_transactions(listed) if isinstance(listed, list) else listed

    def _refunds(self, order: Order) -> list[RefundRecord] | NoAnswer:
        listed = read_data(self.http.send(refunds_request(order.order_id)))
        return read_refunds(listed, order.currency) if isinstance(listed, list) else listed

    def _quote(self, order_id: str, currency: str, items: Sequence[Mapping[str, Any]]) -> Quote | NoAnswer:
        return read_quote(self.http.send(quote_request(order_id, items)), currency)

    def _levels(self, variants: Iterable[int]) -> Levels | NoAnswer:
        wanted = sorted(set(variants) - {0})
        if not wanted:
            return {}
        return read_levels(self.http.send(levels_request(wanted)))

    # ------------------------------------------------------------ claims

    def _claim(
        self, order_id: str, command: Command, takes: Mapping[str, int] | None, products: Iterable[Product]
    ) -> Outcome | None:
        """Claims the wire key for a step that takes units out, with the stock levels of before. None: go on.

        An account that may not read the stock does not own it either: the claim then says nothing about levels.
        """
        levels = self._levels(p.variant_id for p in products)
        if isinstance(levels, Retryable) and levels.code != "unauthorised":
            return levels
        if isinstance(levels, Permanent | Unknown):
            return levels
        known = None if isinstance(levels, Retryable) else levels
        return self._claim_with(order_id, command, note_value(takes, known))

    def _claim_with(self, order_id: str, command: Command, value: str) -> Outcome | None:
        """None: go on. A claim that exists is an earlier attempt's under the same key, and its levels stay the ones that
        count; while it is young it may still be at work.
        """
        claimed = read_claim(self.http.send(claim_request(order_id, claim_key(command), value)))
        match claimed:
            case Claim.OURS:
                return None
            case Claim.TAKEN:
                pass
            case outcome:
                return outcome
        response = self.http.send(notes_request(order_id, claim_key(command)))
        notes = read_notes(response)
        if not isinstance(notes, list):
            return Unknown(f"our claim exists, and cannot be read: {notes.reason}")
        if any(_is_young(note, asked_at(response)) for note in notes):
            return Unknown("another attempt under this key began less than a minute ago")
        return None

    # ------------------------------------------------------------ refunds, paid and recorded

    def _pay_back(self, command: Refund | RecordOrderRefund, order: Order, provider: str) -> Outcome:
        """Claims, looks, quotes, and sends, in this order; the refund is the last call. `provider` empty: only recorded."""
        if command.amount.currency != order.currency:
            return Permanent(
                "amount_mismatch", f"order {order.number} is in {order.currency}, not {command.amount}"
            )
        if command.amount.minor <= 0:
            return Permanent("amount_unsupported", f"{command.amount} is nothing to give back")
        if not are_lines(command.lines):
            return Permanent("unknown_line", "a line's id is not one of BigCommerce")
        products: list[Product] = []
        if command.lines:
            told = self._products(order)
            if not isinstance(told, list):
                return told
            products = told
        units = units_of(command.lines)
        if not set(units) <= {p.line_id for p in products}:
            return Permanent("unknown_line", f"order {order.number} has no such line")
        claim = (
            self._claim(order.order_id, command, units, products)
            if command.takes_out
            else self._claim_with(order.order_id, command, note_value({}, None))
        )
        if claim is not None:
            return claim
        records = self._refunds(order)
        if not isinstance(records, list):
            return records
        if any(is_alive_of(r, command) for r in records) or any(failed_now(records, command)):
            found = (
                self.find_refund(command) if isinstance(command, Refund) else judge_record(records, command)
            )
            return Unknown(found.reason) if isinstance(found, NotFound) else found
        agreed = self._agree(command, order, products, records)
        if not isinstance(agreed, Agreed):
            return agreed
        way = pick_way(agreed.quote, command.amount, provider)
        if isinstance(way, Permanent):
            return way
        response = self.http.send(refund_request(command, order.order_id, agreed, way, provider))
        if isinstance(command, Refund):
            return read_refund(response, command, order.currency)
        return read_record(response, command, order.currency)

    def _agree(
        self,
        command: Refund | RecordOrderRefund,
        order: Order,
        products: Sequence[Product],
        records: Sequence[RefundRecord],
    ) -> Agreed | NoAnswer:
        """Items whose quote is the amount. Units first; where they are worth something else and the money alone counts, a
        lump sum; where the document takes the units out and this payment bears a part of them, that part is forced.
        """
        lump = [lump_item(order.order_id, command.amount)]
        if not command.lines:
            return self._agree_on(order, lump, command)
        items = product_items(units_of(command.lines), products)
        if command.is_whole:
            rest = self._rest_items(order, records)
            if not isinstance(rest, list):
                return rest
            items += rest
        quote = self._quote(order.order_id, order.currency, items)
        match quote:
            case Quote(total=total) if total == command.amount:
                return Agreed(items, quote)
            case Quote() | Permanent(code="refused") if not command.takes_out:
                return self._agree_on(order, lump, command)
            case Quote(total=total) if command.amount.minor < total.minor:
                # A quote knows no forced sums: the ways to pay it back are those of as much money alone.
                again = self._quote(order.order_id, order.currency, lump)
                if not isinstance(again, Quote):
                    return again
                return _agreed(again, items, command, force(quote, command.amount))
            case Quote():
                return _agreed(quote, items, command)
            case no:
                return no

    def _agree_on(
        self, order: Order, items: list[dict[str, Any]], command: Refund | RecordOrderRefund
    ) -> Agreed | NoAnswer:
        quote = self._quote(order.order_id, order.currency, items)
        return _agreed(quote, items, command) if isinstance(quote, Quote) else quote

    def _rest_items(self, order: Order, records: Sequence[RefundRecord]) -> list[dict[str, Any]] | NoAnswer:
        """Shipping, handling and fees, as far as they were not refunded before."""
        addresses = self._v2_list(order.order_id, "shipping_addresses")
        if not isinstance(addresses, list):
            return addresses
        fees = read_fees(self.http.send(fees_request(order.order_id)))
        if not isinstance(fees, list):
            return fees
        return rest_items(order, addresses, fees, records)

    # ------------------------------------------------------------ void and stock

    def _judge_void(self, order: Order, payment: Payment, command: VoidPayment) -> Found:
        """One call more where the payment is void: its transaction tells the amount."""
        if order.payment_status != "void":
            return judge_void_status(order, command)
        transactions = self._transactions(order)
        if not isinstance(transactions, list):
            return _not_seen(transactions)
        return judge_void(transactions, payment, command)

    def _scene(self, command: Restock) -> Scene | Permanent | NotFound | NoAnswer:
        """The order, its lines, and our notes on it."""
        if not is_order_id(command.order_id):
            return Permanent(
                "no_order",
                "the units belong to no order of BigCommerce, so a repeat could not be told from a first try: add "
                + (", ".join(f"{i.quantity} x {i.sku}" for i in command.items) or "them")
                + " by hand",
            )
        order = self._order(command.order_id)
        if not isinstance(order, Order):
            return order
        products = self._products(order)
        if not isinstance(products, list):
            return products
        if not set(units_of(command.lines)) <= {p.line_id for p in products}:
            return Permanent("unknown_line", f"order {order.number} has no such line")
        response = self.http.send(notes_request(order.order_id))
        notes = read_notes(response)
        if not isinstance(notes, list):
            return notes
        # The oldest one speaks, under whichever key: a replay must not add what an attempt before it may have added.
        own = next((n for n in notes if n.key.startswith(f"{command.step_key}:")), None)
        return Scene(order, products, notes, own, asked_at(response))

    def _stock(self, scene: Scene, command: Restock) -> Stock | NoAnswer:
        levels = self._levels(p.variant_id for p in scene.products)
        if isinstance(levels, Retryable | Permanent | Unknown):
            return levels
        return Stock(scene, levels, by_variant(units_of(command.lines), scene.products, levels))

    def _habits(self, order: Order) -> Habits | NoAnswer:
        """What the store does with stock by itself; the order's money only where that matters."""
        settings = self._stock_settings(order)
        if not isinstance(settings, StockSettings) or not settings.is_returned:
            return settings if not isinstance(settings, StockSettings) else Habits(settings, True)
        transactions = self._transactions(order)
        if not isinstance(transactions, list):
            return transactions
        records = self._refunds(order)
        if not isinstance(records, list):
            return records
        return Habits(settings, is_settled_up(order, transactions, records))

    def _stock_settings(self, order: Order) -> StockSettings | NoAnswer:
        """The store's settings, over them those of the order's channel; a manual order follows the store's."""
        told = read_settings(self.http.send(settings_request(0)))
        if not isinstance(told, dict):
            return told
        if order.channel_id and order.source != "manual":
            own = read_settings(self.http.send(settings_request(order.channel_id)))
            if not isinstance(own, dict):
                return own
            told = {**told, **{name: value for name, value in own.items() if value is not None}}
        return stock_settings(told)


# ---------------------------------------------------------------------------------------------------------------------
# References


def is_order_id(text: str) -> bool:
    """Whether the text may stand in a path: a number, as BigCommerce counts orders."""
    return re.fullmatch(r"[1-9][0-9]{0,11}", text, re.ASCII) is not None


def are_lines(lines: Iterable[LineQuantity]) -> bool:
    return all(is_order_id(line.line_id) and line.quantity > 0 for line in lines)


def units_of(lines: Iterable[LineQuantity]) -> dict[str, int]:
    """Units by line, summed where a line is named twice."""
    units: dict[str, int] = {}
    for line in lines:
        units[line.line_id] = units.get(line.line_id, 0) + line.quantity
    return units


def slug_of(provider: str) -> str:
    """A provider's name without anything that its spellings differ in."""
    return re.sub(r"[^a-z0-9]", "", provider.lower())


def payment_of(reference: str, order_id: str = "") -> Payment | None:
    """The payment that a reference names; None where it names none, or one of another order."""
    found = re.fullmatch(r"([1-9][0-9]{0,11})(?::([a-z0-9]{1,64}))?", reference, re.ASCII)
    if found is None or (order_id and found[1] != order_id):
        return None
    return Payment(found[1], found[2] or "")


def reference_of(order_id: str, provider: str) -> str:
    return f"{order_id}:{provider}"


#: The line that our cancel writes into the staff's notes, in the same call as the status.
_CANCEL_NOTE: Final = re.compile(r"^refundflow (\S+): cancelled\b", re.MULTILINE)
#: A wire key in the reason of a refund's item.
_WIRE_KEY: Final = re.compile(r"refundflow:[^\s:]+:[0-9]+")
_KEY_SIZE: Final = 64


def claim_key(command: Command) -> str:
    """The metafield's key: the wire key, so that an attempt that was refused does not stand in the way of the next one."""
    key = command.key.removeprefix("refundflow:")
    return key if 0 < len(key) <= _KEY_SIZE else hashlib.sha256(command.key.encode()).hexdigest()


def step_of(wire_key: str) -> str:
    return wire_key.removeprefix("refundflow:").rpartition(":")[0]


def _key_number(wire_key: str) -> int:
    number = wire_key.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def _no_order(order_id: str) -> Permanent:
    return Permanent("unknown_reference", f"{order_id!r:.40} is no order of BigCommerce: a number")


def _no_payment(reference: str) -> Permanent:
    return Permanent(
        "unknown_reference", f"{reference!r:.60} is no payment of that order here (1001:stripe, say)"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_request() -> Request:
    return Request("GET", "/v2/orders", "bigcommerce.check", params=[("limit", "1")])


def order_request(order_id: str) -> Request:
    return Request("GET", f"/v2/orders/{order_id}", "bigcommerce.read_order")


def list_request(order_id: str, name: str, page: int) -> Request:
    """`name`: products or shipping_addresses."""
    params = [("limit", str(_PAGE)), ("page", str(page))]
    return Request("GET", f"/v2/orders/{order_id}/{name}", f"bigcommerce.list_{name}", params=params)


def fees_request(order_id: str) -> Request:
    return Request("GET", f"/v2/orders/{order_id}/fees", "bigcommerce.list_fees")


def transactions_request(order_id: str) -> Request:
    return Request("GET", f"/v3/orders/{order_id}/transactions", "bigcommerce.list_transactions")


def refunds_request(order_id: str) -> Request:
    return Request("GET", f"/v3/orders/{order_id}/payment_actions/refunds", "bigcommerce.list_refunds")


def quote_request(order_id: str, items: Sequence[Mapping[str, Any]]) -> Request:
    return Request(
        "POST",
        f"/v3/orders/{order_id}/payment_actions/refund_quotes",
        "bigcommerce.quote_refund",
        json={"items": list(items)},
    )


def refund_request(
    command: Refund | RecordOrderRefund, order_id: str, agreed: Agreed, way: Option, provider: str
) -> Request:
    """Every item carries the wire key as its reason; the record also says which refunds of others it stands for."""
    reason = command.key
    if isinstance(command, RecordOrderRefund) and command.refund_references:
        reason = f"{reason} ({command.refund_references})"[:1000]
    body: dict[str, Any] = {
        "items": [{**item, "reason": reason} for item in agreed.items],
        "payments": [
            {
                "provider_id": way.provider_id,
                "amount": Decimal(command.amount.major),
                "offline": not provider,
            }
        ],
    }
    if agreed.forced is not None:
        body["merchant_calculated_override"] = agreed.forced
    name = "refund" if provider else "record_order_refund"
    return Request("POST", f"/v3/orders/{order_id}/payment_actions/refunds", f"bigcommerce.{name}", json=body)


def void_request(order_id: str) -> Request:
    return Request("POST", f"/v3/orders/{order_id}/payment_actions/void", "bigcommerce.void_payment")


def cancel_request(command: CancelOrder, notes: str) -> Request:
    """Status and note, and nothing else: whatever touches lines or fees changes prices. The staff's notes are kept below ours."""
    line = f"refundflow {command.step_key}: cancelled ({command.reason})"
    return Request(
        "PUT",
        f"/v2/orders/{command.order_id}",
        "bigcommerce.cancel_order",
        json={
            "status_id": CANCELLED,
            "staff_notes": (f"{line}\n{notes}" if notes else line)[:_MOST_NOTES],
        },
    )


def claim_request(order_id: str, key: str, value: str) -> Request:
    return Request(
        "POST",
        f"/v3/orders/{order_id}/metafields",
        "bigcommerce.claim",
        json={"permission_set": "app_only", "namespace": NAMESPACE, "key": key, "value": value},
    )


def notes_request(order_id: str, key: str = "") -> Request:
    params = [("namespace", NAMESPACE), ("limit", str(_PAGE)), *([("key", key)] if key else [])]
    return Request("GET", f"/v3/orders/{order_id}/metafields", "bigcommerce.list_notes", params=params)


def levels_request(variants: Iterable[int]) -> Request:
    wanted = ",".join(str(v) for v in variants)
    return Request(
        "GET",
        "/v3/inventory/items",
        "bigcommerce.list_stock",
        params=[("variant_id:in", wanted), ("limit", "1000")],
    )


def settings_request(channel_id: int) -> Request:
    """`channel_id` 0: the store's own settings."""
    params = [("channel_id", str(channel_id))] if channel_id else []
    return Request("GET", "/v3/settings/inventory", "bigcommerce.stock_settings", params=params)


def adjust_request(command: Restock, items: list[dict[str, Any]]) -> Request:
    return Request(
        "POST",
        "/v3/inventory/adjustments/relative",
        "bigcommerce.restock",
        json={"reason": command.key, "items": items},
    )


def poll_request(since: str, page: int) -> Request:
    return Request(
        "GET",
        "/v2/orders",
        "bigcommerce.poll",
        params=[
            ("min_date_modified", since),
            ("sort", "date_modified:asc"),
            ("limit", str(_PAGE)),
            ("page", str(page)),
        ],
    )


# ---------------------------------------------------------------------------------------------------------------------
# Items of a refund


def product_items(units: Mapping[str, int], products: Iterable[Product]) -> list[dict[str, Any]]:
    """The units, and the wrapping of those that were wrapped."""
    wrapped = {p.line_id for p in products if p.is_wrapped}
    items: list[dict[str, Any]] = []
    for line_id, quantity in units.items():
        kinds = ("PRODUCT", "GIFT_WRAPPING") if line_id in wrapped else ("PRODUCT",)
        items += [{"item_type": kind, "item_id": int(line_id), "quantity": quantity} for kind in kinds]
    return items


def lump_item(order_id: str, amount: Money) -> dict[str, Any]:
    """Money alone: BigCommerce computes no tax for it."""
    return {"item_type": "ORDER", "item_id": int(order_id), "amount": Decimal(amount.major)}


def rest_items(
    order: Order, addresses: Iterable[Any], fees: Iterable[Any], records: Iterable[RefundRecord]
) -> list[dict[str, Any]] | NoAnswer:
    """Shipping, handling and fees less what was refunded of them. Amounts are said with tax only where prices include it,
    else BigCommerce adds the tax.
    """
    given: dict[tuple[str, int], int] = {}
    for record in records:
        if not record.is_declined:
            for what, amount in record.amounts.items():
                given[what] = given.get(what, 0) + amount.minor
    side = "inc_tax" if order.is_tax_inclusive else "ex_tax"
    wanted = [
        *((a, "SHIPPING", f"cost_{side}") for a in addresses),
        *((a, "HANDLING", f"handling_cost_{side}") for a in addresses),
        *((f, "FEE", f"cost_{side}") for f in fees),
    ]
    items: list[dict[str, Any]] = []
    for value, kind, name in wanted:
        match value:
            case {"id": int(item_id)}:
                cost = rounded(value.get(name, "0"), order.currency)
            case _:
                return Unknown(f"{kind.lower()} of order {order.number} cannot be read")
        if cost is None:
            return Unknown(f"{kind.lower()} of order {order.number} cannot be read")
        left = cost.minor - given.get((kind, item_id), 0)
        if left > 0:
            major = Decimal(Money(left, order.currency).major)
            items.append({"item_type": kind, "item_id": item_id, "amount": major})
    return items


def force(quote: Quote, amount: Money) -> dict[str, Any]:
    """Our own sum for the quoted items, with its share of their tax."""
    share = Decimal(quote.tax.minor) * amount.minor / quote.total.minor
    tax = Money(int(share.quantize(Decimal(1), ROUND_HALF_UP)), amount.currency)
    return {"total_amount": Decimal(amount.major), "total_tax": Decimal(tax.major)}


def _agreed(
    quote: Quote,
    items: list[dict[str, Any]],
    command: Refund | RecordOrderRefund,
    forced: Mapping[str, Any] | None = None,
) -> Agreed | Permanent:
    if quote.total != command.amount:
        return Permanent(
            "amount_mismatch",
            f"asked for {command.amount}, BigCommerce would give back {quote.total} for order {command.order_number}: compare "
            "its refunds in the control panel",
        )
    return Agreed(items, quote, forced)


def pick_way(quote: Quote, amount: Money, provider: str) -> Option | Permanent:
    """The way that is one payment back to this provider; with `provider` empty, the one that is only recorded.

    Never another one: the first that is offered can turn the customer's money into store credit.
    """
    single = [way[0] for way in quote.ways if len(way) == 1]
    offers = "; ".join(" + ".join(f"{o.amount} by {o.provider_id}" for o in way) for way in quote.ways)
    if not provider:
        recorded = [o for o in single if o.is_offline and o.amount == amount and o.provider in OFFLINE]
        custom = [o for o in recorded if o.provider == "custom"]
        if custom or recorded:
            return (custom or recorded)[0]
        return Permanent(
            "no_offline_way", f"BigCommerce offers no way to record {amount} alone: {offers or 'none'}"
        )
    ours = [o for o in single if o.provider == provider and o.amount == amount]
    if any(not o.is_offline for o in ours):
        return next(o for o in ours if not o.is_offline)
    if ours:
        return Permanent(
            "offline_only",
            f"{provider} cannot pay {amount} back through BigCommerce: {ours[0].why or 'no reason given'}",
        )
    return Permanent(
        "no_way_back",
        f"BigCommerce offers no way that returns {amount} to {provider} alone: {offers or 'none'}; give it back in the control "
        "panel",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Reading values


def amount_of(value: Any, currency: str) -> Money | None:
    """An amount, exact; None for what is none. v2 writes texts of four places, v3 numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        return Money.from_major(Decimal(value), currency)
    except (ValueError, InvalidOperation):
        return None


def rounded(value: Any, currency: str) -> Money | None:
    """An amount that may have more places than the currency: prices of units, costs without tax."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        major = Decimal(value)
        if not major.is_finite() or major.adjusted() > 12:
            return None
        return Money(int(major.scaleb(exponent_of(currency)).quantize(Decimal(1), ROUND_HALF_UP)), currency)
    except (ValueError, InvalidOperation):
        return None


def read_date(value: Any) -> datetime | None:
    """RFC 2822 (v2, UTC throughout) or ISO 8601 (v3), aware."""
    if not isinstance(value, str):
        return None
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = read(value)
        except (ValueError, TypeError):
            continue
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return None


def asked_at(response: Response) -> datetime | None:
    """The vendor's time of its answer, where it says one."""
    return read_date(response.headers.get("date", ""))


def _whole(value: Any) -> int | None:
    """A count, which v2 may write as a number with a point or as a text."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(value)
        return int(number) if number == number.to_integral_value() else None
    except (InvalidOperation, ValueError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


# ---------------------------------------------------------------------------------------------------------------------
# Orders


def read_order(response: Response, order_id: str) -> Order | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"id": int(found), "status_id": int()} as value if str(found) == order_id:
            return read_order_object(value) or Unknown(f"order {order_id} cannot be read")
        case _:
            failure = read_failure(response)
            if isinstance(failure, Permanent) and failure.code == "not_found":
                return NotFound(0.0, f"BigCommerce has no order {order_id}")
            return failure


def read_order_object(value: Mapping[str, Any]) -> Order | None:
    match value:
        case {
            "id": int(order_id),
            "status_id": int(status_id),
            "default_currency_code": str(currency),
        } if re.fullmatch(r"[A-Z]{3}", currency):
            pass
        case _:
            return None
    total = amount_of(value.get("total_inc_tax"), currency)
    credit = amount_of(value.get("store_credit_amount", "0"), currency)
    gift = amount_of(value.get("gift_certificate_amount", "0"), currency)
    created = read_date(value.get("date_created"))
    modified = read_date(value.get("date_modified")) or created
    shipped = _whole(value.get("items_shipped", 0))
    if None in (total, credit, gift, created, shipped):
        return None
    assert total is not None
    assert credit is not None
    assert gift is not None
    assert created is not None
    assert modified is not None
    billing = value.get("billing_address")
    billing = billing if isinstance(billing, dict) else {}
    payment_id = value.get("payment_provider_id")
    return Order(
        order_id=str(order_id),
        status_id=status_id,
        payment_status=_text(value.get("payment_status")),
        currency=currency,
        total=total,
        created_at=created,
        modified_at=modified,
        notes=_text(value.get("staff_notes")),
        shipped=shipped or 0,
        is_deleted=value.get("is_deleted") is True,
        is_tax_inclusive=value.get("is_tax_inclusive_pricing") is True,
        channel_id=_whole(value.get("channel_id", 0)) or 0,
        source=_text(value.get("order_source")),
        payment_method=_text(value.get("payment_method")),
        payment_id=str(payment_id) if isinstance(payment_id, str | int) and payment_id else "",
        store_credit=credit,
        gift_certificate=gift,
        email=_text(billing.get("email")),
        customer_name=" ".join(filter(None, (_text(billing.get(n)) for n in ("first_name", "last_name")))),
        locale=_text(value.get("customer_locale")),
    )


def read_products(listed: Iterable[Any], currency: str) -> list[Product] | Unknown:
    products = []
    for value in listed:
        product = read_product(value, currency)
        if product is None:
            return Unknown("a line of the order cannot be read")
        products.append(product)
    return products


def read_product(value: Any, currency: str) -> Product | None:
    """`unit`: what the customer paid for one, discounts and tax included, rounded."""
    match value:
        case {"id": int(line_id)}:
            pass
        case _:
            return None
    quantity, shipped, refunded = (
        _whole(value.get(name, 0)) for name in ("quantity", "quantity_shipped", "quantity_refunded")
    )
    variant = _whole(value.get("variant_id") or 0)
    paid = value.get("discounted_total_inc_tax")
    whole = rounded(paid if paid is not None else value.get("total_inc_tax"), currency)
    if quantity is None or shipped is None or refunded is None or variant is None or whole is None:
        return None
    each = Decimal(whole.minor) / quantity if quantity > 0 else Decimal(0)
    wrapping = rounded(value.get("wrapping_cost_inc_tax", "0"), currency)
    return Product(
        line_id=str(line_id),
        variant_id=variant,
        sku=_text(value.get("sku")),
        title=_text(value.get("name")),
        quantity=quantity,
        shipped=shipped,
        refunded=refunded,
        unit=Money(int(each.quantize(Decimal(1), ROUND_HALF_UP)), currency),
        is_wrapped=wrapping is not None and wrapping.minor > 0,
    )


def order_facts(
    order: Order,
    products: Sequence[Product],
    transactions: Sequence[Transaction],
    *,
    restocks_itself: bool = False,
) -> OrderFacts:
    return OrderFacts(
        platform=SPEC.platform,
        order_id=order.order_id,
        number=order.number,
        created_at=order.created_at,
        currency=order.currency,
        total=order.total,
        email=order.email,
        lines=tuple(order_line(order, product) for product in products),
        payments=order_payments(order, transactions),
        # BigCommerce keeps no time of the cancel: the last change is not before it.
        cancelled_at=order.modified_at if order.is_cancelled else None,
        customer_name=order.customer_name,
        locale=order.locale,
        cancels=TakesBack.CALL,
        cancels_lines=TakesBack.REFUND,
        cancel_refusal=cancel_refusal(order, products),
        is_restock_carried=False,
        records_refunds=True,
        releases_authorisations=False,
        restocks_itself=restocks_itself,
    )


def order_line(order: Order, product: Product) -> OrderLine:
    """Refunded units count as unshipped ones: which they were is not told, and what is not certainly here is not cancelled.
    Where a person set the order to Shipped or Completed, all of it left, whatever the shipments say.
    """
    left = max(0, product.quantity - product.refunded)
    has_left = order.status_id in (SHIPPED, COMPLETED)
    return OrderLine(
        line_id=product.line_id,
        sku=product.sku,
        title=product.title,
        quantity=left,
        unfulfilled=0 if has_left else max(0, left - product.shipped),
        refundable=left,
        unit=product.unit,
    )


def cancel_refusal(order: Order, products: Iterable[Product]) -> str:
    """Why an order as it stands must not be cancelled without a person; BigCommerce itself would allow anything."""
    if order.is_deleted:
        return "the order is archived"
    if order.status_id == DISPUTED:
        return "the order's payment is disputed"
    if order.status_id == INCOMPLETE:
        return "its checkout was not finished"
    if order.status_id == PARTLY_SHIPPED and not any(p.shipped for p in products):
        return "part of it was shipped, and no shipment says which part"
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# Payments


def read_transactions(listed: Iterable[Any]) -> list[Transaction] | Unknown:
    transactions = []
    for value in listed:
        match value:
            case {
                "event": str(event),
                "gateway": str(gateway),
                "currency": str(currency),
                "id": int() | str() as transaction_id,
            } if re.fullmatch(r"[A-Z]{3}", currency):
                amount = amount_of(value.get("amount"), currency)
            case _:
                return Unknown("a transaction of the order cannot be read")
        if amount is None:
            return Unknown("a transaction's amount cannot be read")
        transactions.append(
            Transaction(
                transaction_id=str(transaction_id),
                event=event,
                provider=slug_of(gateway),
                amount=amount,
                is_ok=value.get("status", "ok") == "ok",
                reference=_text(value.get("gateway_transaction_id")),
            )
        )
    return transactions


_PAYING: Final = ("purchase", "authorization", "capture", "settled", "pending")
_CAPTURED_STATUSES: Final = ("captured", "paid", "partially refunded", "refunded")


def payments_of(order: Order, transactions: Iterable[Transaction]) -> list[Paid]:
    """What was paid, one for each provider, gateways first; what went to no provider that keeps transactions is the rest of
    the order's total, under the name of its payment method.
    """
    by_provider: dict[str, list[Transaction]] = {}
    for transaction in transactions:
        if transaction.is_ok and transaction.event in (*_PAYING, "void"):
            by_provider.setdefault(transaction.provider, []).append(transaction)
    told = {"storecredit": order.store_credit, "giftcertificate": order.gift_certificate}
    gateways = [_paid(order, p, moves) for p, moves in by_provider.items() if p not in TENDERS]
    nothing = Money(0, order.currency)
    tenders = []
    for provider, amount in told.items():
        moves = by_provider.get(provider, [])
        if amount.minor > 0:
            reference = next((m.reference for m in moves if m.reference), "")
            tenders.append(Paid(provider, PaymentState.CAPTURED, nothing, amount, reference))
        elif moves:
            tenders.append(_paid(order, provider, moves))
    rest = order.total.minor - sum(t.captured.minor for t in tenders if t.captured.currency == order.currency)
    if not gateways and rest > 0 and (method := slug_of(order.payment_method)):
        provider = _METHODS.get(method, method)
        unkept = _without_transactions(order, provider, Money(rest, order.currency))
        if provider not in TENDERS and unkept is not None:
            gateways.append(unkept)
    return [*gateways, *tenders]


def _paid(order: Order, provider: str, moves: Sequence[Transaction]) -> Paid:
    currency = moves[0].amount.currency

    def summed(*events: str) -> int:
        same = [m for m in moves if m.event in events and m.amount.currency == currency]
        return sum(m.amount.minor for m in same)

    # "settled" repeats a purchase that was pending at first.
    captured = max(summed("purchase", "capture"), summed("settled"))
    authorised = summed("authorization")
    is_capturing = not captured and order.payment_status == "capture pending"
    if not captured and order.payment_status in _CAPTURED_STATUSES:
        captured = authorised
    is_void = any(m.event == "void" for m in moves) or order.payment_status == "void"
    if captured:
        state, authorised = PaymentState.CAPTURED, 0
    elif is_void:
        state, authorised = PaymentState.VOIDED, 0
    elif authorised and order.payment_status != "declined":
        state = PaymentState.AUTHORISED
    else:
        state, authorised = PaymentState.NOT_PAID, 0
    return Paid(
        provider,
        state,
        Money(authorised, currency),
        Money(captured, currency),
        next((m.reference for m in moves if m.reference), ""),
        is_capturing,
    )


def _without_transactions(order: Order, provider: str, amount: Money) -> Paid | None:
    """A payment that left no transactions: money that was taken outside, or a gateway that tells the order only."""
    nothing = Money(0, order.currency)
    match order.payment_status:
        case "authorized" | "void pending":
            return Paid(provider, PaymentState.AUTHORISED, amount, nothing, order.payment_id)
        case "capture pending":
            return Paid(provider, PaymentState.AUTHORISED, amount, nothing, order.payment_id, True)
        case "void":
            return Paid(provider, PaymentState.VOIDED, nothing, nothing, order.payment_id)
        case "declined" | "pending" | "held for review":
            return None
        case "" if order.status_id in (INCOMPLETE, PENDING, DECLINED, AWAITING_PAYMENT):
            return None
        case _:
            # The shop goes on with the order, so it holds the money for paid.
            return Paid(provider, PaymentState.CAPTURED, nothing, amount, order.payment_id)


def order_payments(order: Order, transactions: Iterable[Transaction]) -> tuple[OrderPayment, ...]:
    return tuple(
        OrderPayment(
            transaction_id=reference_of(order.order_id, paid.provider),
            gateway=paid.provider,
            provider_reference=paid.reference or (order.payment_id if paid.provider not in TENDERS else ""),
            is_captured=bool(paid.captured.minor),
            amount=paid.captured if paid.captured.minor else paid.authorised,
            tender=paid.tender,
        )
        for paid in payments_of(order, transactions)
        if paid.captured.minor or paid.authorised.minor
    )


def payment_facts(
    order: Order,
    payment: Payment,
    transactions: Sequence[Transaction],
    records: Sequence[RefundRecord],
) -> PaymentFacts | NotFound | NoAnswer:
    all_paid = payments_of(order, transactions)
    if payment.provider:
        mine = next((p for p in all_paid if p.provider == payment.provider), None)
    elif len(all_paid) > 1:
        names = ", ".join(reference_of(order.order_id, p.provider) for p in all_paid)
        return Permanent("ambiguous", f"order {order.number} was paid in several ways: {names}")
    else:
        mine = next(iter(all_paid), None)
    if mine is None:
        return NotFound(0.0, f"order {order.number} has no such payment")
    if mine.is_capturing:
        return Retryable("unavailable", f"the payment of order {order.number} is just being captured", 900.0)
    is_disputed = order.status_id == DISPUTED and mine.provider not in TENDERS
    return PaymentFacts(
        platform=SPEC.platform,
        reference=reference_of(order.order_id, mine.provider),
        state=mine.state,
        authorised=mine.authorised,
        captured=mine.captured,
        refunds=share_refunds(all_paid, records, transactions)[mine.provider],
        dispute=DisputeState.OPEN if is_disputed else DisputeState.NONE,
        dispute_reference=f"order {order.number}" if is_disputed else "",
        gateway=mine.provider,
        order_number=order.number,
        tender=mine.tender,
        refund_refusal=(
            "it was paid outside of BigCommerce, which can only write the refund down"
            if mine.provider in OFFLINE
            else ""
        ),
    )


def share_refunds(
    all_paid: Sequence[Paid], records: Iterable[RefundRecord], transactions: Sequence[Transaction]
) -> dict[str, tuple[RefundFact, ...]]:
    """Each payment's refunds. What went back by another way (recorded by hand, turned into store credit) is taken from the
    payments that still have room, gateways first: the order's money can go back only once.
    """
    records = list(records)
    facts: dict[str, list[RefundFact]] = {p.provider: [] for p in all_paid}
    room = {p.provider: p.captured.minor for p in all_paid}
    order = [p.provider for p in all_paid]
    over: list[RefundFact] = []
    for record in records:
        for payback in record.paybacks:
            status = settle_payback(payback, records, transactions)
            step_key = record.step_key
            minor, currency = payback.amount.minor, payback.amount.currency
            own = minor if status is RefundStatus.FAILED else min(minor, room.get(payback.provider, 0))
            if payback.provider in facts and own:
                if status is not RefundStatus.FAILED:
                    room[payback.provider] -= own
                facts[payback.provider].append(
                    RefundFact(record.refund_id, Money(own, currency), status, step_key)
                )
                minor -= own
            if minor and status is not RefundStatus.FAILED:
                over.append(RefundFact(record.refund_id, Money(minor, currency), status, step_key))
    for fact in over:
        minor = fact.amount.minor
        for provider in order:
            part = min(minor, room[provider])
            if part:
                room[provider] -= part
                minor -= part
                amount = Money(part, fact.amount.currency)
                facts[provider].append(RefundFact(fact.reference, amount, fact.status, fact.step_key))
    return {provider: tuple(found) for provider, found in facts.items()}


def is_settled_up(order: Order, transactions: Sequence[Transaction], records: Sequence[RefundRecord]) -> bool:
    """Whether all captured money of the order certainly went back; so too where none was captured."""
    captured = sum(p.captured.minor for p in payments_of(order, transactions))
    back = sum(
        p.amount.minor
        for r in records
        for p in r.paybacks
        if settle_payback(p, records, transactions) is RefundStatus.SUCCEEDED
    )
    return back >= captured


# ---------------------------------------------------------------------------------------------------------------------
# Refunds


def read_refunds(listed: Iterable[Any], currency: str) -> list[RefundRecord] | Unknown:
    """All refunds of a list, or why they cannot be had: the one that cannot be read might be ours."""
    records = []
    for value in listed:
        record = read_refund_record(value, currency)
        if record is None:
            return Unknown("a refund of the order cannot be read")
        records.append(record)
    return records


def read_refund_record(value: Any, currency: str) -> RefundRecord | None:
    match value:
        case {"id": int(refund_id), "payments": [dict(), *_] as payments, "items": list(items)}:
            pass
        case _:
            return None
    paybacks = [read_payback(payment, currency) for payment in payments]
    if not all(isinstance(p, Payback) for p in paybacks):
        return None
    keys: set[str] = set()
    amounts: dict[tuple[str, int], Money] = {}
    for item in items:
        match item:
            case {"item_type": str(kind), "item_id": int(item_id)}:
                pass
            case _:
                return None
        keys.update(_WIRE_KEY.findall(_text(item.get("reason"))))
        amount = rounded(item.get("requested_amount"), currency)
        if amount is not None and kind in ("SHIPPING", "HANDLING", "FEE"):
            before = amounts.get((kind, item_id), Money(0, currency))
            amounts[kind, item_id] = before + amount
    kept = tuple(p for p in paybacks if p is not None)
    return RefundRecord(str(refund_id), kept, frozenset(keys), amounts)


def read_payback(value: Any, currency: str) -> Payback | None:
    match value:
        case {"provider_id": str(provider), "amount": amount, "offline": bool(is_offline)}:
            money = amount_of(amount, currency)
        case _:
            return None
    if money is None:
        return None
    transaction = value.get("transaction_id")
    return Payback(
        provider=slug_of(provider),
        amount=money,
        is_offline=is_offline,
        is_declined=value.get("is_declined") is True,
        why=_text(value.get("declined_message")),
        transaction_id=str(transaction) if isinstance(transaction, str | int) and transaction else "",
    )


def settle_payback(
    payback: Payback, records: Sequence[RefundRecord], transactions: Sequence[Transaction]
) -> RefundStatus:
    """How one payment of a refund stands. A decline decides, whatever transaction is still shown; else its transaction
    does. One that names none is proven where there are at least as many unclaimed transactions like it as such refunds.
    """
    if payback.is_declined:
        return RefundStatus.FAILED
    if payback.is_offline:
        return RefundStatus.SUCCEEDED
    if payback.transaction_id:
        named = [t for t in transactions if t.transaction_id == payback.transaction_id]
        return RefundStatus.SUCCEEDED if all(t.is_ok for t in named) else RefundStatus.PENDING
    like = [
        p
        for r in records
        for p in r.paybacks
        if not p.transaction_id
        and not p.is_offline
        and (p.provider, p.amount) == (payback.provider, payback.amount)
    ]
    claimed = {p.transaction_id for r in records for p in r.paybacks}
    loose = [
        t
        for t in transactions
        if t.event == "refund"
        and t.is_ok
        and t.transaction_id not in claimed
        and (t.provider, t.amount) == (payback.provider, payback.amount)
    ]
    return RefundStatus.SUCCEEDED if like and len(loose) >= len(like) else RefundStatus.PENDING


def read_quote(response: Response, currency: str) -> Quote | NoAnswer:
    match response.status, response.json:
        case 200 | 201, {"data": {"total_refund_amount": total, "refund_methods": list(methods)} as data}:
            amount = amount_of(total, currency)
            tax = rounded(data.get("total_refund_tax_amount", 0), currency)
            ways = [read_way(method, currency) for method in methods]
            if amount is None or tax is None or None in ways or amount.minor <= 0:
                return Unknown("the quote of the refund cannot be read")
            return Quote(amount, tax, tuple(way for way in ways if way is not None))
        case status, _ if status >= 500:
            # A quote does nothing, so what is unclear about it is no doubt about a refund.
            return Retryable("unavailable", f"no quote for the refund: {read_failure(response).reason}", 10.0)
        case _:
            return read_failure(response)


def read_way(value: Any, currency: str) -> tuple[Option, ...] | None:
    if not isinstance(value, list):
        return None
    options = []
    for each in value:
        match each:
            case {"provider_id": str(provider), "amount": amount, "offline": bool(is_offline)} if provider:
                money = amount_of(amount, currency)
            case _:
                return None
        if money is None:
            return None
        options.append(Option(provider, money, is_offline, _text(each.get("offline_reason"))))
    return tuple(options)


def read_refund(response: Response, command: Refund, currency: str) -> Outcome:
    """Accepted is not paid: the gateway is asked after this answer."""
    record = read_created(response, currency)
    if not isinstance(record, RefundRecord):
        return record
    if record.is_declined:
        return _declined(record)
    return _mismatch(record, command) or Pending(record.refund_id, 5.0)


def read_record(response: Response, command: RecordOrderRefund, currency: str) -> Outcome:
    """A record has nothing to wait for."""
    record = read_created(response, currency)
    return judge_recorded(record, command) if isinstance(record, RefundRecord) else record


def read_created(response: Response, currency: str) -> RefundRecord | NoAnswer:
    match response.status, response.json:
        case 200 | 201, {"data": dict() as data}:
            return read_refund_record(data, currency) or Unknown("the refund in the answer cannot be read")
        case _:
            return read_failure(response)


def _declined(record: RefundRecord) -> Permanent:
    why = "; ".join(dict.fromkeys(p.why for p in record.paybacks if p.why))
    return Permanent("refund_failed", f"refund {record.refund_id}: {why or 'declined by the gateway'}")


def _mismatch(record: RefundRecord, command: Refund | RecordOrderRefund) -> Permanent | None:
    given = sum(p.amount.minor for p in record.paybacks if not p.is_declined)
    if given == command.amount.minor:
        return None
    money = Money(given, command.amount.currency)
    return Permanent(
        "amount_mismatch", f"asked for {command.amount}, refund {record.refund_id} gives back {money}"
    )


def is_alive_of(record: RefundRecord, command: Refund | RecordOrderRefund) -> bool:
    """Whether the refund is our step's, under whichever key, and its money moved or may move."""
    return not record.is_declined and str(command.step_key) in map(step_of, record.keys)


def failed_now(records: Iterable[RefundRecord], command: Refund | RecordOrderRefund) -> list[RefundRecord]:
    """Declined refunds of this key or a later one; those of an earlier key do not speak for it."""
    number = _key_number(command.key)
    return [
        r
        for r in records
        if r.is_declined and any(step_of(k) == command.step_key and _key_number(k) >= number for k in r.keys)
    ]


def judge_refunds(
    records: Sequence[RefundRecord], transactions: Sequence[Transaction], command: Refund
) -> Found:
    """What the order's refunds say about ours. Two that carry our reference are money sent twice: a person must see it."""
    ours = [r for r in records if is_alive_of(r, command)]
    if not ours:
        failed = failed_now(records, command)
        return _declined(failed[0]) if failed else NotFound(CONCLUSIVE_S, "no refund carries our reference")
    if len(ours) > 1:
        names = " and ".join(r.refund_id for r in ours)
        return Permanent("amount_mismatch", f"asked for {command.amount} once, refunds {names} are both ours")
    record = ours[0]
    mismatch = _mismatch(record, command)
    if mismatch is not None:
        return mismatch
    alive = [p for p in record.paybacks if not p.is_declined]
    if any(p.is_offline for p in alive):
        return Permanent(
            "recorded_only",
            f"refund {record.refund_id} was only written down, no money moved: pay it by hand",
        )
    if all(settle_payback(p, records, transactions) is RefundStatus.SUCCEEDED for p in alive):
        told = ", ".join(p.transaction_id for p in alive if p.transaction_id)
        return Done(record.refund_id, f"transaction {told}" if told else "")
    return Pending(record.refund_id)


def judge_rest(
    order: Order,
    payment: Payment,
    transactions: Sequence[Transaction],
    records: Sequence[RefundRecord],
    command: Refund,
) -> Outcome | None:
    """Where ours is not there: whether what others gave back leaves enough. None: it does."""
    facts = payment_facts(order, payment, transactions, records)
    match facts:
        case PaymentFacts(captured=captured, refunded=refunded) if (
            refunded and captured.minor - refunded < command.amount.minor
        ):
            given = Money(refunded, captured.currency)
            return Permanent(
                "refunded_elsewhere",
                f"{given} of {captured} went back by other refunds: {command.amount} are not left",
            )
        case Retryable() | Unknown():
            return facts
        case _:
            return None


def judge_record(records: Sequence[RefundRecord], command: RecordOrderRefund) -> Found:
    ours = [r for r in records if is_alive_of(r, command)]
    if len(ours) > 1:
        names = " and ".join(r.refund_id for r in ours)
        return Permanent(
            "amount_mismatch", f"{command.amount} was to be recorded once, refunds {names} are both ours"
        )
    if not ours:
        failed = failed_now(records, command)
        return _declined(failed[0]) if failed else NotFound(CONCLUSIVE_S, "no refund carries our reference")
    return judge_recorded(ours[0], command)


def judge_recorded(record: RefundRecord, command: RecordOrderRefund) -> Outcome:
    if any(not p.is_offline for p in record.paybacks):
        return Permanent(
            "amount_mismatch",
            f"no money was to move, and refund {record.refund_id} was sent to "
            f"{', '.join(p.provider for p in record.paybacks if not p.is_offline)}",
        )
    if record.is_declined:
        return _declined(record)
    return _mismatch(record, command) or Done(record.refund_id, "recorded; BigCommerce moved no money")


# ---------------------------------------------------------------------------------------------------------------------
# Cancel and void


def refused_cancel(order: Order) -> Permanent | None:
    """What speaks against it since the decision was made. BigCommerce would set even a shipped order to Cancelled."""
    if order.is_cancelled:
        return None
    if order.status_id in (SHIPPED, PARTLY_SHIPPED, COMPLETED) or order.shipped:
        return Permanent("shipped_meanwhile", f"units of order {order.number} were shipped meanwhile")
    if order.status_id == DISPUTED:
        return Permanent("disputed", f"order {order.number} is disputed: a person decides about it")
    if order.is_deleted:
        return Permanent("archived", f"order {order.number} was archived")
    return None


def read_cancel(response: Response, command: CancelOrder) -> Outcome:
    match response.status, response.json:
        case 200, {"id": int(found), "status_id": 5} if str(found) == command.order_id:
            return Done(command.order_id)
        case 200, {"id": int(found), "status_id": int(status_id)} if str(found) == command.order_id:
            return Permanent("not_cancelled", f"BigCommerce took the call and left the order at {status_id}")
        case _:
            return read_failure(response)


def judge_cancel(order: Order, command: CancelOrder) -> Found:
    """Our note is written by the cancelling call itself, so it proves the cancel also where a refund wrote over the status."""
    if order.is_cancelled_by(command.step_key):
        is_over = order.status_id != CANCELLED
        return Done(command.order_id, "a refund wrote over the status since" if is_over else "")
    if order.status_id == CANCELLED:
        return AlreadyDone(command.order_id, "cancelled by somebody else")
    if order.is_cancelled:
        return AlreadyDone(command.order_id, "refunded in full before anything was shipped")
    if command.step_key in _CANCEL_NOTE.findall(order.notes):
        return Permanent(
            "cancel_undone",
            f"we cancelled order {order.number}, and it was set to status {order.status_id} since: ask who goes on with it",
        )
    return NotFound(CONCLUSIVE_S, f"the order is at status {order.status_id}")


def read_void(response: Response, command: VoidPayment) -> Outcome:
    match response.status, response.json:
        case 200 | 201, dict():
            return Pending(command.payment_reference, 2.0)
        case _:
            return read_failure(response)


def judge_void_status(order: Order, command: VoidPayment) -> Found:
    match order.payment_status:
        case "void pending":
            return Pending(command.payment_reference)
        case "authorized":
            return NotFound(CONCLUSIVE_S, "the payment is still authorised")
        case "captured" | "paid" | "partially refunded" | "refunded" | "capture pending" as status:
            return Permanent("captured_meanwhile", f"the payment is {status}: refund it instead")
        case "declined":
            return Permanent("not_voidable", "the payment was declined: there is nothing to release")
        case status:
            return Unknown(f"the payment is {status!r:.40}: neither authorised nor void")


def judge_void(transactions: Iterable[Transaction], payment: Payment, command: VoidPayment) -> Found:
    """A void that tells its amount must be at least what was to be released."""
    voids = [
        t.amount
        for t in transactions
        if t.event == "void" and t.is_ok and payment.provider in ("", t.provider)
    ]
    if any(v.currency != command.amount.currency for v in voids) or (
        voids and sum(v.minor for v in voids) < command.amount.minor
    ):
        released = " and ".join(map(str, voids))
        return Permanent(
            "amount_mismatch", f"asked to release {command.amount}, BigCommerce released {released}"
        )
    return Done(command.payment_reference)


# ---------------------------------------------------------------------------------------------------------------------
# Claims and stock


def note_value(takes: Mapping[str, int] | None, levels: Levels | None) -> str:
    """What a claim says: which units its step takes out (null: all), and the stock just before."""
    shown = (
        None if levels is None else {str(v): {str(p): n for p, n in at.items()} for v, at in levels.items()}
    )
    value = json.dumps({"takes": takes, "levels": shown}, separators=(",", ":"))
    return value if len(value) <= _MOST_NOTES else json.dumps({"takes": takes, "levels": None})


def read_claim(response: Response) -> Claim | NoAnswer:
    match response.status, response.json:
        case 200 | 201, {"data": {"id": int()}}:
            return Claim.OURS
        case 409, dict() | list() as body if read_told(body) is not None:
            return Claim.TAKEN
        case _:
            return read_failure(response)


def read_notes(response: Response) -> list[Note] | NoAnswer:
    """Our notes on an order, oldest first. One whose value cannot be read still counts as a claim."""
    listed = read_data(response)
    if not isinstance(listed, list):
        return listed
    notes = []
    for value in listed:
        match value:
            case {"id": int(note_id), "key": str(key), "value": str(text)}:
                takes, levels = read_note_value(text)
                notes.append(Note(note_id, key, takes, levels, read_date(value.get("date_created"))))
            case _:
                return Unknown("a metafield of the order cannot be read")
    return sorted(notes, key=lambda n: n.note_id)


def read_note_value(text: str) -> tuple[Mapping[str, int] | None, Levels | None]:
    match parse_json(text.encode()):
        case {"takes": None | dict() as takes, "levels": dict(shown)}:
            levels = {
                int(variant): {int(place): n for place, n in at.items() if isinstance(n, int)}
                for variant, at in shown.items()
                if variant.isdecimal() and isinstance(at, dict) and all(p.isdecimal() for p in at)
            }
            return takes, levels
        case {"takes": None | dict() as takes}:
            return takes, None
        case _:
            return {}, None


def _is_young(note: Note, now: datetime | None) -> bool:
    """Whether the claim is so fresh that its call may still run. Where a time is missing, or one clock makes nonsense of the
    other, the flow's own wait has to do.
    """
    return (
        now is not None
        and note.created_at is not None
        and abs(now - note.created_at) < timedelta(seconds=_CLAIM_S)
    )


def read_levels(response: Response) -> Levels | NoAnswer:
    listed = read_data(response)
    if not isinstance(listed, list):
        return listed
    match response.json:
        case {"meta": {"pagination": {"total_pages": int(pages)}}} if pages > 1:
            return Unknown("the stock of the order's units is more than one page")
    levels: dict[int, dict[int, int]] = {}
    for value in listed:
        match value:
            case {"identity": {"variant_id": int(variant)}, "locations": list(places)}:
                at = levels.setdefault(variant, {})
            case _:
                return Unknown("a stock level cannot be read")
        for place in places:
            match place:
                case {"location_id": int(location), "total_inventory_onhand": int(units)}:
                    at[location] = units
                case _:
                    return Unknown("a stock level cannot be read")
    return levels


def read_settings(response: Response) -> dict[str, Any] | NoAnswer:
    match response.status, response.json:
        case 200, {"data": {"refund_order_stock_adjustment": None | bool()} as data}:
            return dict(data)
        case _:
            return read_failure(response)


def stock_settings(told: Mapping[str, Any]) -> StockSettings | Unknown:
    match told:
        case {"refund_order_stock_adjustment": bool(is_returned), "update_stock_behavior": str(behaviour)}:
            return StockSettings(is_returned, behaviour == "order_placed")
        case _:
            return Unknown("the store's settings for stock cannot be read")


def by_variant(units: Mapping[str, int], products: Iterable[Product], levels: Levels) -> dict[int, int]:
    """Units of lines as units of variants. What BigCommerce keeps no stock of is not listed there, and left out."""
    wanted: dict[int, int] = {}
    for product in products:
        count = units.get(product.line_id, 0)
        if count and product.variant_id in levels:
            wanted[product.variant_id] = wanted.get(product.variant_id, 0) + count
    return wanted


class Moved(StrEnum):
    """What stock did since a note. OTHER: something else happened too, and what cannot be told."""

    BACK = "back"
    STILL = "still"
    OTHER = "other"


def moved(before: Levels, now: Levels, wanted: Mapping[int, int], others: Mapping[int, int]) -> Moved:
    """Compares levels, summed over locations. `others`: units of the order that are not to come back; where they did, the
    store returned more than was asked for.
    """

    def change(variant: int) -> int | None:
        if variant not in before or variant not in now:
            return None
        return sum(now[variant].values()) - sum(before[variant].values())

    if any(0 < units <= (change(variant) or 0) for variant, units in others.items()):
        return Moved.OTHER
    if all(change(variant) == units for variant, units in wanted.items()):
        return Moved.BACK
    return Moved.STILL if all(change(variant) == 0 for variant in wanted) else Moved.OTHER


class StockVerdict(StrEnum):
    ADD = "add"
    BACK = "back"
    NEVER_TAKEN = "never_taken"
    WAIT = "wait"
    PERSON = "person"


def judge_stock(command: Restock, stock: Stock, habits: Habits) -> StockVerdict:
    """Whether to add the units. Both of the vendor's documents agree that nothing returns while the setting is off, or with a
    refund of a part; for the rest the levels decide, and what they do not tell a person does.
    """
    order, settings = stock.scene.order, habits.settings
    if not settings.is_taken_early and not command.is_return:
        return StockVerdict.PERSON if order.shipped else StockVerdict.NEVER_TAKEN
    note = baseline(command, stock.scene)
    is_whole = order.is_cancelled and not command.is_return if note is None else note.takes is None
    change = moved_since(stock, note)
    if not settings.is_returned:
        return StockVerdict.PERSON if change is Moved.BACK else StockVerdict.ADD
    if change is Moved.BACK:
        return StockVerdict.BACK
    if not is_whole and not habits.is_paid_back:
        return StockVerdict.ADD
    if change is not Moved.STILL:
        return StockVerdict.PERSON
    return StockVerdict.ADD if habits.is_paid_back else StockVerdict.WAIT


def baseline(command: Restock, scene: Scene) -> Note | None:
    """The note of the step that took these units out of the order: this case's refund of just these, else its cancel."""
    case_id = f"{case_of(command.step_key)}."
    notes = [n for n in scene.notes if n.key.startswith(case_id) and ".restock." not in n.key]
    parts = [n for n in notes if n.takes == units_of(command.lines)]
    whole = [n for n in notes if n.takes is None and scene.order.is_cancelled and not command.is_return]
    return next(iter((parts or whole)[-1:]), None)


def moved_since(stock: Stock, note: Note | None) -> Moved | None:
    """None: no levels were noted."""
    if note is None or note.levels is None:
        return None
    others: dict[int, int] = {}
    if note.takes is None:
        for product in stock.scene.products:
            if product.variant_id not in stock.units:
                others[product.variant_id] = others.get(product.variant_id, 0) + product.quantity
    return moved(note.levels, stock.levels, stock.units, others)


def judge_adjusted(stock: Stock, command: Restock) -> Found:
    """How far the attempt came whose claim is there: its levels are those of just before the adjustment."""
    own = stock.scene.own
    change = None if own is None or own.levels is None else moved(own.levels, stock.levels, stock.units, {})
    match change:
        case Moved.BACK:
            return Done(command.order_id, "the levels rose by these units since the attempt began")
        case Moved.STILL:
            return NotFound(CONCLUSIVE_S, "the levels are what they were when the attempt began")
        case _:
            return Permanent("restock_unproven", f"whether we added them cannot be told. {_by_hand(stock)}")


def tell_stock(verdict: StockVerdict, command: Restock, stock: Stock) -> Outcome:
    """The outcome of every verdict that adds nothing."""
    match verdict:
        case StockVerdict.BACK:
            return Done(command.order_id, "the store's own setting put the units back")
        case StockVerdict.NEVER_TAKEN:
            return AlreadyDone(
                command.order_id, "the store takes stock when it ships: these units were never out"
            )
        case StockVerdict.WAIT:
            return Retryable(
                "unavailable",
                "the cancel put nothing back, and the store's setting may yet do it with the refund, which is not done. "
                f"If it never will be: {_by_hand(stock)}",
                _wait_for_money(stock.scene),
            )
        case _:
            return Permanent(
                "restock_unproven",
                f"whether the store's own setting put units back cannot be told. {_by_hand(stock)}",
            )


def _wait_for_money(scene: Scene) -> float:
    """Soon after the cancel its refund is just being made; later it is one that has to settle first, or waits for a person."""
    age = None if scene.asked_at is None else scene.asked_at - scene.order.modified_at
    return _STOCK_WAIT_S if age is None or age < timedelta(minutes=10) else _STOCK_LONG_WAIT_S


def _by_hand(stock: Stock) -> str:
    """Exact words for the person who has to look."""
    names = {p.variant_id: p.sku or p.title for p in stock.scene.products}
    now = {v: sum(at.values()) for v, at in stock.levels.items()}
    units = ", ".join(f"{n} x {names.get(v, v)} (now {now.get(v, 0)})" for v, n in stock.units.items())
    return (
        f"Look into the inventory history of each: if {units} did not come back after order {stock.scene.order.number} was "
        "cancelled or refunded, add what is missing; if more came back, take it out. Then resolve this step"
    )


def adjustment_items(stock: Stock, location: str) -> list[dict[str, Any]] | Permanent:
    """`location`: BigCommerce's number of the place; empty where the stock of each unit is in one place only."""
    items = []
    for variant, units in stock.units.items():
        places = stock.levels[variant]
        if is_order_id(location):
            place = int(location)
        elif location:
            return Permanent("unknown_location", f"{location!r:.40} is no location of BigCommerce: a number")
        elif len(places) == 1:
            place = next(iter(places))
        else:
            known = ", ".join(map(str, sorted(places))) or "none"
            return Permanent(
                "no_location", f"the units have no or several locations ({known}): set stock_location"
            )
        items.append({"location_id": place, "variant_id": variant, "quantity": units})
    return items


def read_adjustment(response: Response) -> Outcome:
    match response.status, response.json:
        case 200 | 201, {"transaction_id": str(reference)} if reference:
            return Done(reference)
        case _:
            return read_failure(response)


# ---------------------------------------------------------------------------------------------------------------------
# Lists and failures


def read_v2_list(response: Response) -> list[Any] | NoAnswer:
    match response.status, response.json:
        case 204, _:
            return []
        case 200, [dict(), *_] as listed if all(isinstance(each, dict) for each in listed):
            return list(listed)
        case _:
            return read_failure(response)


def read_fees(response: Response) -> list[Any] | NoAnswer:
    """All at once: described as a single fee, shown in an order as a list. Asked of an order that is there, so a 404 can only
    mean that it has none.
    """
    match response.status, response.json:
        case 200, []:
            return []
        case 200, {"id": int()} as fee:
            return [fee]
        case 404, body if read_told(body) is not None:
            return []
        case _:
            return read_v2_list(response)


def read_data(response: Response) -> list[Any] | NoAnswer:
    match response.status, response.json:
        case 204, _:
            return []
        case 200, {"data": list(listed)} if all(isinstance(each, dict) for each in listed):
            return list(listed)
        case _:
            return read_failure(response)


def read_failure(response: Response) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for. A refusal counts only in the vendor's own words."""
    match response.status, read_told(response.json):
        case 401 | 403 as status, _:
            return Retryable(
                "unauthorised",
                f"BigCommerce refuses our account ({status}): check REFUNDFLOW_BIGCOMMERCE_ACCESS_TOKEN and its scopes",
            )
        case 429, _:
            return Retryable("throttled", "BigCommerce is asked too often", wait_of(response))
        case 404, str(why):
            return Permanent("not_found", why)
        case (400 | 422) as status, str(why):
            return _read_refusal(status, why)
        case (405 | 406 | 413 | 415) as status, str(why):
            return Permanent(f"http_{status}", why)
        case status, why:
            return Unknown(f"no clear answer, status {status}{f': {why}' if why else ''}")


def wait_of(response: Response) -> float:
    """When the quota's window is over; without its headers, or another hint, the platform is overloaded."""
    reset = response.headers.get("x-rate-limit-time-reset-ms", "")
    if reset.isdecimal() and len(reset) < 9:
        return int(reset) / 1000
    return _OVERLOADED_S if response.retry_after_s is None else response.retry_after_s


def read_told(body: Any) -> str | None:
    """The words of an error, in the shape of v3, of v3 inside `data`, or of v2; None for what is no error of BigCommerce's."""
    match body:
        case {"status": int(), "title": str(title)}:
            return f"{title}{_details(body.get('errors'))}"
        case {"data": [{"status": int(), "title": str(title)} as error, *_]}:
            return f"{title}{_details(error.get('errors'))}"
        case {"data": [{"status": int(), "error": str(title)}, *_]} | [
            {"status": int(), "message": str(title)},
            *_,
        ]:
            return title
        case _:
            return None


def _details(errors: Any) -> str:
    told = [f"{n}: {v}" for n, v in errors.items() if isinstance(v, str)] if isinstance(errors, dict) else []
    return f" ({'; '.join(told)})"[:300] if told else ""


class Means(StrEnum):
    """What a refusal is worth. LATER: it becomes possible in hours. LOOK: it may be so already, by us."""

    LATER = "later"
    LOOK = "look"


#: Refusals that are more than a plain no. BigCommerce gives no codes, so words of its texts must do: reading them too widely
#: costs a wait or a look, and nothing was done either way.
REFUSALS: Final[tuple[tuple[re.Pattern[str], Means], ...]] = (
    (re.compile(r"not (?:been |yet )?settled|not settle|unsettled|settlement", re.IGNORECASE), Means.LATER),
    (
        re.compile(r"already|nothing (?:of this )?is left|in progress|concurrent", re.IGNORECASE),
        Means.LOOK,
    ),
)


def _read_refusal(status: int, why: str) -> Retryable | Permanent | Unknown:
    match next((means for pattern, means in REFUSALS if pattern.search(why)), None):
        case Means.LATER:
            return Retryable("unavailable", why, _SETTLES_S)
        case Means.LOOK:
            return Unknown(f"refused, look who did it: {why}")
        case None:
            return Permanent("refused" if status == 422 else "invalid", why)


def _is_about_settling(failure: Retryable | Permanent) -> bool:
    return isinstance(failure, Retryable) and failure.after_s == _SETTLES_S


def _gone(found: NotFound | NoAnswer, order_id: str) -> Outcome:
    """An order that is not there takes no effect."""
    return (
        Permanent("not_found", f"BigCommerce has no order {order_id}")
        if isinstance(found, NotFound)
        else found
    )


def _not_seen(failure: NotFound | NoAnswer) -> Retryable | Unknown:
    """A look that was refused: a no to the question is no word about the effect."""
    match failure:
        case NotFound(reason=reason):
            return Unknown(f"could not look: {reason}")
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


# ---------------------------------------------------------------------------------------------------------------------
# Polling


def read_cursor(cursor: str, now: datetime) -> tuple[str, int]:
    """Where to begin, and the page. What is no cursor of ours begins a day back, like none at all."""
    since, _, page = cursor.partition("|")
    found = read_date(since) if since else None
    if found is None:
        return (now - timedelta(days=1)).isoformat(timespec="seconds"), 1
    return since, int(page) if page.isdecimal() and 0 < int(page) < 10_000 else 1


def read_polled(listed: Sequence[Any], since: str, page: int) -> Polled | Unknown:
    """Cancelled, disputed and refunded orders as the deliveries that should have told of them. The same news has the same id
    as long as the order keeps its status.
    """
    events: list[PolledEvent] = []
    newest = read_date(since)
    for value in listed:
        match value:
            case {"id": int(order_id), "status_id": int(status_id)}:
                modified = read_date(value.get("date_modified"))
            case _:
                return Unknown("an order of the list cannot be read")
        if modified is not None and (newest is None or modified > newest):
            newest = modified
        event = polled_event(order_id, status_id)
        if event is not None:
            events.append(event)
    if len(listed) >= _PAGE:
        return Polled(tuple(events), f"{since}|{page + 1}", has_more=True)
    # Nothing moves backward: a window without news begins where it began.
    begun = read_date(since)
    at = since
    if newest is not None and begun is not None and newest - _OVERLAP > begun:
        at = (newest - _OVERLAP).astimezone(UTC).isoformat(timespec="seconds")
    return Polled(tuple(events), at)


def polled_event(order_id: int, status_id: int) -> PolledEvent | None:
    match status_id:
        case 5 | 13:
            scope, more = STATUS_UPDATED, {"status": {"new_status_id": status_id}}
        case 4 | 14:
            scope, more = REFUND_CREATED, {}
        case _:
            return None
    body = {"scope": scope, "data": {"type": "order", "id": order_id, **more}}
    source_event_id = f"poll:{order_id}:{status_id}"
    return PolledEvent(source_event_id, scope, json.dumps(body, separators=(",", ":")).encode())


# ---------------------------------------------------------------------------------------------------------------------
# Deliveries

STATUS_UPDATED: Final = "store/order/statusUpdated"
REFUND_CREATED: Final = "store/order/refund/created"
TRANSACTION_CREATED: Final = "store/order/transaction/created"
TOKEN_HEADER: Final = "x-refundflow-token"  # noqa: S105  (a header's name, not a secret)
_SIGNATURE_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_TOLERANCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class BigCommerceInbound:
    """Deliveries of one store's hooks (https://developer.bigcommerce.com/docs/integrations/webhooks, read 2026-11-25).

    Two proofs, and each that is set up must hold: our own header, and the signature of Standard Webhooks, keyed with the bytes
    of the account's client secret. Of both, several with commas between them while one is rotated. A delivery without any
    signature header passes on the header alone only where `is_signature_required` is False. `store_hash`: deliveries of
    other stores that share the account are refused (empty: not compared).
    """

    platform: ClassVar[str] = SPEC.platform
    client_secret: Secret
    hook_token: Secret
    store_hash: str = ""
    is_signature_required: bool = True

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        tokens = split_secrets(self.hook_token.reveal())
        secrets = split_secrets(self.client_secret.reveal())
        if not tokens and not secrets:
            return Refused("neither a hook token nor a client secret is set")
        if tokens and not is_any(tokens, (delivery.headers.get(TOKEN_HEADER, ""),)):
            return Refused("the token header does not fit")
        is_signed = any(name in delivery.headers for name in _SIGNATURE_HEADERS)
        if is_signed and secrets:
            refused = refused_signature(delivery, secrets, now)
            if refused is not None:
                return refused
        elif self.is_signature_required or not tokens:
            return Refused("the delivery is not signed" if secrets else "no client secret is set")
        return self._identify(delivery.body)

    def _identify(self, body: bytes) -> Verified | Refused:
        """The event's id: its hash, which is the same for copies, with scope and object."""
        match parse_json(body):
            case {"scope": str(scope), "data": dict(data)} as event if scope:
                pass
            case _:
                return Refused("the body is no event")
        if self.store_hash and event.get("producer") != f"stores/{self.store_hash}":
            return Refused("the event is from another store")
        object_id = data.get("id", data.get("transaction_id", ""))
        digest = event.get("hash")
        if not isinstance(digest, str) or not digest:
            digest = f"sha256-{hashlib.sha256(body).hexdigest()}"
        return Verified(f"{digest}:{scope}:{object_id}", scope)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event that matters to us lacks what it must have. Bodies are thin: whoever acts on
        one reads the order first.
        """
        match parse_json(body):
            case {"data": dict(data)}:
                pass
            case _:
                raise MalformedError("data", "is missing")
        match topic:
            case "store/order/statusUpdated":
                return read_status_event(data)
            case "store/order/refund/created":
                order = order_ref(data, "id")
                return PaymentRefundsChanged(SPEC.platform, order.order_id, order)
            case "store/order/transaction/created" if data.get("transaction_type") == "refund":
                # The end of a refund that was accepted, its decline too.
                order = order_ref(data, "order_id")
                return PaymentRefundsChanged(SPEC.platform, order.order_id, order)
            case _:
                return Irrelevant(f"{topic} asks nothing of us")


def refused_signature(delivery: Delivery, secrets: Sequence[str], now: datetime) -> Refused | None:
    message_id, timestamp, signature = (delivery.headers.get(name, "") for name in _SIGNATURE_HEADERS)
    given = [part.removeprefix("v1,") for part in signature.split() if part.startswith("v1,")]
    if not message_id or not re.fullmatch(r"[0-9]{1,12}", timestamp, re.ASCII) or not given:
        return Refused("the signature headers are missing or cannot be read")
    message = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + delivery.body
    if not is_any([sign_base64(secret, message) for secret in secrets], given):
        return Refused("the signature does not match")
    if not is_fresh(int(timestamp), now, _TOLERANCE_S):
        return Refused(f"the signature is not from the last {_TOLERANCE_S:.0f} seconds")
    return None


def read_status_event(data: Mapping[str, Any]) -> Reading:
    order = order_ref(data, "id")
    match data.get("status"):
        case {"new_status_id": int(status_id)} if not isinstance(status_id, bool):
            pass
        case _:
            raise MalformedError("data.status.new_status_id", "is no number")
    if status_id == CANCELLED:
        return OrderCancelledElsewhere(order)
    if status_id == DISPUTED:
        return DisputeSeen(
            SPEC.platform, order.order_id, f"order {order.order_id}", DisputeState.OPEN, order=order
        )
    return Irrelevant(f"an order at status {status_id} asks nothing of us")


def order_ref(data: Mapping[str, Any], name: str) -> OrderRef:
    """The order that an event is about; its number is its id."""
    value = data.get(name)
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not is_order_id(text):
        raise MalformedError(f"data.{name}", "is no number of an order")
    return OrderRef(SPEC.platform, text, text)
