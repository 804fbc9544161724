"""What the practice Shopify remembers: orders with their lines, payments and refunds, stock, jobs, disputes; and its ids.

All amounts are minor units of the order's presentment currency, which is what the customer paid in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from refundflow.sandbox.base import Record

MONEY_IN: Final = ("SALE", "CAPTURE")


def gid(kind: str, number: str) -> str:
    """The global id of an object: gid("Order", "1001")."""
    return f"gid://shopify/{kind}/{number}"


def tail(id: str) -> str:
    """The number, or last part, of a global id; a bare number is its own."""
    return id.rsplit("/", 1)[-1]


@dataclass(slots=True)
class Location:
    """Where stock lies."""

    id: str
    name: str
    is_active: bool = True


@dataclass(slots=True)
class Item:
    """An inventory item; `levels`: quantity by (location id, quantity name)."""

    id: str
    sku: str | None
    levels: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, location_id: str, name: str, delta: int) -> int:
        now = self.levels.get((location_id, name), 0) + delta
        self.levels[location_id, name] = now
        return now


@dataclass(slots=True)
class Line:
    """An order line; `unit_minor` in minor units of the order's presentment currency."""

    id: str
    title: str
    sku: str | None
    quantity: int
    unit_minor: int
    fulfilled: int
    removed: int
    variant_id: str
    item: Item
    location: Location

    @property
    def refundable(self) -> int:
        return self.quantity - self.removed

    @property
    def unfulfilled(self) -> int:
        return max(0, self.quantity - self.fulfilled - self.removed)


@dataclass(slots=True)
class Transaction:
    """One movement, or reservation, of money on an order; `parent`: the payment that a refund, capture or void belongs to."""

    id: str
    kind: str
    status: str
    gateway: str
    minor: int
    at: str
    parent: Transaction | None = None
    payment_id: str | None = None
    receipt: Any = None
    error_code: str | None = None


@dataclass(slots=True)
class RefundedLine:
    """Units of a line taken out of the order; `location`: where they went back to, None for nowhere."""

    line: Line
    quantity: int
    restock_type: str
    location: Location | None


@dataclass(slots=True)
class Refund:
    """A refund record. Money moved only for its `transactions`, and for `store_credit_minor`."""

    id: str
    order: Order
    note: str | None
    at: str
    lines: list[RefundedLine]
    transactions: list[Transaction]
    store_credit_minor: int = 0


@dataclass(slots=True)
class Dispute:
    """A buyer questions the payment; `type` is INQUIRY or CHARGEBACK."""

    id: str
    order: Order
    type: str
    status: str
    minor: int
    at: str


@dataclass(slots=True)
class Job:
    """A cancellation on its way. `reads_left`: how often it is still seen undone; None: until it is settled."""

    id: str
    order: Order
    arguments: dict[str, Any]
    reads_left: int | None
    will_fail: bool
    status: str = "STARTED"
    errors: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """An order with everything that hangs on it. `rate`: presentment units for one unit of the shop's currency."""

    id: str
    name: str
    number: int
    currency: str
    presentment: str
    rate: Decimal
    email: str | None
    note: str | None
    tags: list[str]
    source_name: str | None
    created: str
    updated: str
    shipping_minor: int
    return_status: str
    lines: list[Line]
    transactions: list[Transaction] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    custom_ids: dict[str, str] = field(default_factory=dict)
    fulfillment_status: str | None = None
    cancelled_at: str | None = None
    cancel_reason: str | None = None
    staff_note: str | None = None

    @property
    def total_minor(self) -> int:
        return sum(line.unit_minor * line.quantity for line in self.lines) + self.shipping_minor

    @property
    def received_minor(self) -> int:
        return sum(each.minor for each in self.money_in())

    @property
    def refunded_minor(self) -> int:
        return sum(
            each.minor for each in self.transactions if each.kind == "REFUND" and each.status == "SUCCESS"
        )

    @property
    def capturable_minor(self) -> int:
        return sum(self.left_to_capture(each) for each in self.transactions)

    def money_in(self) -> list[Transaction]:
        """The payments that were captured, oldest first."""
        return [each for each in self.transactions if each.kind in MONEY_IN and each.status == "SUCCESS"]

    def left_on(self, payment: Transaction) -> int:
        """What may still be refunded of one payment; a pending refund has taken its part already."""
        return payment.minor - sum(
            each.minor
            for each in self.transactions
            if each.kind == "REFUND" and each.parent is payment and each.status in ("SUCCESS", "PENDING")
        )

    def left_to_capture(self, authorisation: Transaction) -> int:
        if authorisation.kind != "AUTHORIZATION" or authorisation.status != "SUCCESS":
            return 0
        children = [
            each for each in self.transactions if each.parent is authorisation and each.status == "SUCCESS"
        ]
        if any(each.kind == "VOID" for each in children):
            return 0
        return authorisation.minor - sum(each.minor for each in children if each.kind == "CAPTURE")

    @property
    def financial_status(self) -> str:
        received, refunded = self.received_minor, self.refunded_minor
        if received and refunded >= received:
            return "REFUNDED"
        if refunded:
            return "PARTIALLY_REFUNDED"
        if received:
            return "PAID" if received >= self.total_minor else "PARTIALLY_PAID"
        if self.capturable_minor:
            return "AUTHORIZED"
        return "VOIDED" if any(each.kind == "VOID" for each in self.transactions) else "PENDING"

    @property
    def display_fulfillment(self) -> str:
        if self.fulfillment_status is not None:
            return self.fulfillment_status
        fulfilled, wanted = (
            sum(each) for each in zip(*((x.fulfilled, x.quantity) for x in self.lines), strict=True)
        )
        if not fulfilled:
            return "UNFULFILLED"
        return "FULFILLED" if fulfilled >= wanted else "PARTIALLY_FULFILLED"
