"""Facts: a snapshot read from the platforms, in our words and minor units. Never guessed, never edited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from refundflow.domain.money import Money


@dataclass(frozen=True, slots=True)
class OrderRef:
    """How a source names an order: the order platform, and its id (`order_id`) or the number people see (`number`)."""

    platform: str
    order_id: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class LineQuantity:
    """So many units of one order line. `line_id`: the order platform's own id."""

    line_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class ItemQuantity:
    """So many units of one article, by the SKU that all platforms of a shop share."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One order line. Quantities in units; `unit`: price of one unit after discounts.

    `quantity`: ordered and not yet removed; `unfulfilled`: of these, not shipped (can be cancelled);
    `refundable`: units for which nothing was given back or removed yet.
    """

    line_id: str
    sku: str
    title: str
    quantity: int
    unfulfilled: int
    refundable: int
    unit: Money


class Tender(StrEnum):
    """What a payment was made with. The shop's policy states in which order they give back."""

    CARD = "card"  # and whatever else a payment provider takes
    STORE_CREDIT = "store_credit"
    GIFT_CARD = "gift_card"


class TakesBack(StrEnum):
    """How units leave an order on its platform, as the order stands."""

    CALL = "call"  # by the platform's own cancel call
    REFUND = "refund"  # only by a refund document over these units: the refund itself, or the record of it
    PERSON = "person"  # not by its API: somebody does it by hand


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """One payment as the order platform knows it.

    `transaction_id`: the order platform's id; `gateway`: its name for who took the money (routing picks the payer by
    it); `provider_reference`: the payment's id at the payment provider (`pi_…`), empty where the platform does not say;
    `tender`: what was paid with.
    """

    transaction_id: str
    gateway: str
    provider_reference: str
    is_captured: bool
    amount: Money
    tender: Tender = Tender.CARD


class RefundStatus(StrEnum):
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RefundFact:
    """A refund that exists at a payer. `step_key`: ours, where the refund carries our reference; else empty."""

    reference: str
    amount: Money
    status: RefundStatus
    step_key: str = ""


class DisputeState(StrEnum):
    """How far a dispute is. WARNING: inquiry or early fraud warning, no money taken yet."""

    NONE = "none"
    WARNING = "warning"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


class PaymentState(StrEnum):
    AUTHORISED = "authorised"
    CAPTURED = "captured"
    VOIDED = "voided"
    NOT_PAID = "not_paid"


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """One payment as its payer tells it. `captured`: 0 while only authorised; `authorised`: still to capture or void.

    `platform`: the payer (who returns the money). `refundable_until`: after it the payer refunds no more;
    `is_part_refundable`: whether less than the rest can go back; `refund_refusal`: why the payer would refuse a refund
    now, in words for people (empty: it would not, as far as it says); `is_returned_there`: the payer returns it when a person tells
    it so on its own pages, and then it must not go back by any other way.
    """

    platform: str
    reference: str
    state: PaymentState
    authorised: Money
    captured: Money
    refunds: tuple[RefundFact, ...] = ()
    dispute: DisputeState = DisputeState.NONE
    dispute_reference: str = ""
    gateway: str = ""
    refundable_until: datetime | None = None
    order_number: str = ""  # the order that the payment says it is for, where it says so
    tender: Tender = Tender.CARD
    is_part_refundable: bool = True
    refund_refusal: str = ""
    is_returned_there: bool = False

    @property
    def refunded_elsewhere(self) -> int:
        """Minor units given back by others than us (pending ones count: the money is on its way)."""
        return sum(
            r.amount.minor for r in self.refunds if not r.step_key and r.status is not RefundStatus.FAILED
        )

    @property
    def refunded(self) -> int:
        """Minor units given back by anyone, pending ones included."""
        return sum(r.amount.minor for r in self.refunds if r.status is not RefundStatus.FAILED)


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """One order as the order platform tells it. `total`: what the customer owed; `number`: what people call it.

    What the platform can do with it as it stands, consulted before anything is touched:
    `cancels`, `cancels_lines`: how the whole order, and some of its units, are taken back; `cancel_refusal`: why the
    platform would refuse now, in words for people (on hold, packed; empty: it would not); `is_restock_carried`: its cancel
    or refund document puts units back by itself when told to, no call of its own is needed; `records_refunds`: a refund
    that somebody else paid is written down on the order; `releases_authorisations`: its cancel releases what was only
    authorised through it; `knows_payments`: it says how the order was paid (a stock system or an ERP does not, and then no
    payments are not "nothing was paid"); `restocks_itself`: its cancel raises its own stock whether told to or not; `is_stock_taken`: the
    order has taken units out of this platform's stock (some take them when it is paid).
    """

    platform: str
    order_id: str
    number: str
    created_at: datetime
    currency: str
    total: Money
    email: str
    lines: tuple[OrderLine, ...]
    payments: tuple[OrderPayment, ...]
    cancelled_at: datetime | None = None
    is_return_open: bool = False
    location: str = ""
    is_test: bool = False
    customer_name: str = ""
    locale: str = ""
    phone: str = ""
    cancels: TakesBack = TakesBack.CALL
    cancels_lines: TakesBack = TakesBack.CALL
    cancel_refusal: str = ""
    is_restock_carried: bool = True
    records_refunds: bool = False
    releases_authorisations: bool = True
    knows_payments: bool = True
    restocks_itself: bool = False
    is_stock_taken: bool = True

    @property
    def unfulfilled(self) -> tuple[LineQuantity, ...]:
        """What can still be cancelled."""
        return tuple(
            LineQuantity(line.line_id, min(line.unfulfilled, line.refundable))
            for line in self.lines
            if min(line.unfulfilled, line.refundable) > 0
        )

    @property
    def is_partly_fulfilled(self) -> bool:
        shipped = any(line.quantity > line.unfulfilled for line in self.lines)
        return shipped and any(line.unfulfilled for line in self.lines)

    @property
    def is_fulfilled(self) -> bool:
        """Whether there are units, and all of them were shipped."""
        units = [line for line in self.lines if line.quantity]
        return bool(units) and all(line.unfulfilled == 0 for line in units)


class InvoiceState(StrEnum):
    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One invoice line, as much as a credit note must repeat. `gross`: the line's amount as the invoice states it.

    `line_id`: the books' own id of the line; `sku`, `quantity`: which article and how many units, where the books say.
    """

    description: str
    gross: Money
    account_code: str
    tax_type: str
    line_id: str = ""
    sku: str = ""
    quantity: int = 0


class RefundedBy(StrEnum):
    """How the books write a refund down."""

    NOTE = "note"  # a credit note, and a payment out of it
    RECEIPT = "receipt"  # one refund receipt per refund; a credit note only for what was never paid


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """The sales document in the books. `due`, `paid`, `credited`: minor units of its currency.

    `line_amount_types`: the books' own word for how line amounts include tax, repeated on a credit note; `document`: the
    books' own name of the kind of document (`Invoice`, `SalesReceipt`), where there are several; `refunded_by`: how a refund
    is written down; `is_allocated`: a credit note is set against what is due by a call of its own (else the books do it, or it
    is not needed).
    """

    platform: str
    invoice_id: str
    number: str
    state: InvoiceState
    contact_id: str
    total: Money
    due: Money
    paid: Money
    credited: Money
    lines: tuple[InvoiceLine, ...]
    line_amount_types: str = ""
    document: str = ""
    refunded_by: RefundedBy = RefundedBy.NOTE
    is_allocated: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision and a plan look at. `read_at`: aware UTC; `quote`: what the order platform says the
    wanted lines are worth with taxes and discounts, where only lines were asked for; `quoted`: these lines; `mirrors`: the
    same order as other systems hold it (stock, ERP), in the order in which routing names them.
    """

    read_at: datetime
    order: OrderFacts
    payments: tuple[PaymentFacts, ...] = ()
    invoice: InvoiceFacts | None = None
    quote: Money | None = None
    quoted: tuple[LineQuantity, ...] = ()
    mirrors: tuple[OrderFacts, ...] = ()
