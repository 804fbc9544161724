"""What a connector is: its declaration (`Spec`), and the capabilities it may have (Protocols).

A connector implements the Protocols it can and lists the operations behind them in its `SPEC`; mypy and a test hold the
two together. Reads raise nothing of their own: they return what was read, `NotFound`, or the outcome that says why not.
Every method may raise `NotSentError` or `MaybeSentError` from the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from refundflow.domain.commands import (
    AllocateCredit,
    CancelLines,
    CancelOrder,
    CommentTicket,
    CreditNote,
    KeepRecord,
    RecordOrderRefund,
    RecordRefund,
    Refund,
    Restock,
    SendMessage,
    VoidInvoice,
    VoidPayment,
)
from refundflow.domain.facts import (
    InvoiceFacts,
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
)
from refundflow.domain.inbound import Delivery, Greeting, Reading, Refused, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Found, NotFound, Outcome, Permanent, Retryable, Unknown


class Capability(StrEnum):
    READ_ORDER = "read_order"
    QUOTE_LINES = "quote_lines"
    CANCEL_ORDER = "cancel_order"
    CANCEL_LINES = "cancel_lines"
    RESTOCK = "restock"
    READ_PAYMENT = "read_payment"
    REFUND = "refund"
    VOID_PAYMENT = "void_payment"
    RECORD_ORDER_REFUND = "record_order_refund"
    READ_INVOICE = "read_invoice"
    VOID_INVOICE = "void_invoice"
    CREDIT_NOTE = "credit_note"
    ALLOCATE_CREDIT = "allocate_credit"
    RECORD_REFUND = "record_refund"
    SEND_MESSAGE = "send_message"
    COMMENT_TICKET = "comment_ticket"
    KEEP_RECORD = "keep_record"
    CHECK = "check"
    INBOUND = "inbound"
    POLL = "poll"


#: Capabilities that change something at the vendor; each has a twin method `find_<capability>`.
EFFECTS: frozenset[Capability] = frozenset(
    {
        Capability.CANCEL_ORDER,
        Capability.CANCEL_LINES,
        Capability.RESTOCK,
        Capability.REFUND,
        Capability.VOID_PAYMENT,
        Capability.RECORD_ORDER_REFUND,
        Capability.VOID_INVOICE,
        Capability.CREDIT_NOTE,
        Capability.ALLOCATE_CREDIT,
        Capability.RECORD_REFUND,
        Capability.SEND_MESSAGE,
        Capability.COMMENT_TICKET,
        Capability.KEEP_RECORD,
    }
)


class Idempotency(StrEnum):
    """How a repeated call is kept from acting twice, per operation."""

    READ = "read"  # nothing to repeat
    KEY = "key"  # the vendor honours a key for `key_lifetime_h`
    NATURAL = "natural"  # the second call cannot act (a cancelled order cannot be cancelled)
    LOOKUP = "lookup"  # no help from the vendor: look before every repeat
    NONE = "none"  # no help and nothing to look at: never repeated after an unknown outcome


@dataclass(frozen=True, slots=True)
class Operation:
    """One capability of one platform. `call`: the vendor's words for it; `doc`: where it is described."""

    call: str
    idempotency: Idempotency
    doc: str = ""
    key_lifetime_h: float | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """A platform's declaration. `rate_per_s` and `burst`: our own pacing, below the vendor's limit.

    `redact`: names of headers, form fields and JSON keys (any depth, lower case) that never reach a log or an audit
    row, beside the ones that transport always masks. `total_s`: the longest one call may take.
    """

    platform: str
    api_version: str
    base_url: str
    operations: Mapping[Capability, Operation]
    rate_per_s: float
    burst: int
    redact: frozenset[str] = field(default_factory=frozenset)
    connect_s: float = 3.0
    read_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a cheap authenticated read said. `detail`: for people (account, version, what to do)."""

    is_ok: bool
    detail: str


#: What a read that could not be done returns instead: the caller decides whether to come again.
NoAnswer = Retryable | Permanent | Unknown


@runtime_checkable
class Connector(Protocol):
    """Every connector. `check` is one cheap authenticated read."""

    spec: ClassVar[Spec]

    def check(self) -> Health: ...


class OrderReader(Connector, Protocol):
    """Where an order is held and can be read."""

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """By `order_id`, or by `number` (as people call it, with or without a leading `#`). A number that fits more than
        one order is a Permanent("ambiguous"): a person looks, never the first match.
        """


class SalesChannel(OrderReader, Protocol):
    """Where an order lives that a person cancels, because the channel has no call for it."""

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """As `OrderPlatform.quote_lines`."""


class OrderMirror(OrderReader, Protocol):
    """Where an order is held beside the platform that it was placed on: stock, ERP."""

    def cancel_order(self, command: CancelOrder) -> Outcome: ...
    def find_cancel_order(self, command: CancelOrder) -> Found: ...


class OrderPlatform(OrderMirror, Protocol):
    """Where the order lives."""

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """What these units are worth to the customer, taxes and discounts included."""


class LineCanceller(Connector, Protocol):
    """An order platform that takes single units out of an order by a call of its own (`TakesBack.CALL`)."""

    def cancel_lines(self, command: CancelLines) -> Outcome: ...
    def find_cancel_lines(self, command: CancelLines) -> Found: ...


class RefundRecorder(Connector, Protocol):
    """An order platform on which a refund that somebody else paid is written down."""

    def record_order_refund(self, command: RecordOrderRefund) -> Outcome: ...
    def find_record_order_refund(self, command: RecordOrderRefund) -> Found: ...


class StockOwner(Connector, Protocol):
    def restock(self, command: Restock) -> Outcome: ...
    def find_restock(self, command: Restock) -> Found: ...


class PaymentReader(Connector, Protocol):
    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """The payment as its payer tells it. `order_id` may be empty where the payer needs none."""


class Refunder(PaymentReader, Protocol):
    """A payer: the party that returns the money of a payment."""

    def refund(self, command: Refund) -> Outcome: ...
    def find_refund(self, command: Refund) -> Found: ...


class Voider(PaymentReader, Protocol):
    def void_payment(self, command: VoidPayment) -> Outcome: ...
    def find_void_payment(self, command: VoidPayment) -> Found: ...


class Books(Connector, Protocol):
    def read_invoice(self, number: str) -> InvoiceFacts | NotFound | NoAnswer: ...
    def void_invoice(self, command: VoidInvoice) -> Outcome: ...
    def find_void_invoice(self, command: VoidInvoice) -> Found: ...
    def credit_note(self, command: CreditNote) -> Outcome: ...
    def find_credit_note(self, command: CreditNote) -> Found: ...
    def record_refund(self, command: RecordRefund) -> Outcome: ...
    def find_record_refund(self, command: RecordRefund) -> Found: ...


class Allocator(Connector, Protocol):
    """Books in which a credit note is set against an invoice by a call of its own (`InvoiceFacts.is_allocated`)."""

    def allocate_credit(self, command: AllocateCredit) -> Outcome: ...
    def find_allocate_credit(self, command: AllocateCredit) -> Found: ...


class Messenger(Connector, Protocol):
    def send_message(self, command: SendMessage) -> Outcome: ...
    def find_send_message(self, command: SendMessage) -> Found: ...


class SupportDesk(Connector, Protocol):
    """A help desk in which each case has one ticket."""

    def comment_ticket(self, command: CommentTicket) -> Outcome: ...
    def find_comment_ticket(self, command: CommentTicket) -> Found: ...


class RecordKeeper(Connector, Protocol):
    """A tool in which each case has one record. `Done.reference` is the record's id, which later steps are given."""

    def keep_record(self, command: KeepRecord) -> Outcome: ...
    def find_keep_record(self, command: KeepRecord) -> Found: ...


class Inbound(Protocol):
    """The vendor's side of our front door. Needs its secret only, and a connection only where a vendor signs with keys
    that must be fetched; then `verify` may raise NotSentError or MaybeSentError, and the vendor is told to come again.
    """

    platform: ClassVar[str]

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused | Greeting:
        """Checks the signature over the raw bytes in constant time, before anything is parsed."""

    def read_event(self, topic: str, body: bytes) -> Reading:
        """What a verified delivery says. Raises MalformedError with the field's path."""


@dataclass(frozen=True, slots=True)
class PolledEvent:
    """One thing that polling found, stored in the inbox like a delivery. `body`: JSON that the platform's `read_event`
    reads under `topic`; `source_event_id`: the same for the same news, however often and by whatever way it is met (a webhook
    about it gives the same id where it can).
    """

    source_event_id: str
    topic: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Polled:
    """What one look brought. `cursor`: where the next one begins, kept in the database after the events are; opaque to
    everybody but the connector; `has_more`: come again at once.
    """

    events: tuple[PolledEvent, ...]
    cursor: str
    has_more: bool = False


class Poller(Connector, Protocol):
    """A platform whose webhooks do not exist or cannot be trusted to arrive."""

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """What changed since `cursor` ("" at first: begins a day back). Windows overlap, so that nothing is missed at the
        seam; the inbox drops what comes twice. One page of the vendor's list per call.
        """
