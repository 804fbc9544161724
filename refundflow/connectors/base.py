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
    CreditNote,
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
from refundflow.domain.inbound import Delivery, Reading, Refused, Verified
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
    READ_INVOICE = "read_invoice"
    VOID_INVOICE = "void_invoice"
    CREDIT_NOTE = "credit_note"
    ALLOCATE_CREDIT = "allocate_credit"
    RECORD_REFUND = "record_refund"
    SEND_MESSAGE = "send_message"
    CHECK = "check"
    INBOUND = "inbound"


#: Capabilities that change something at the vendor; each has a twin method `find_<capability>`.
EFFECTS: frozenset[Capability] = frozenset(
    {
        Capability.CANCEL_ORDER,
        Capability.CANCEL_LINES,
        Capability.RESTOCK,
        Capability.REFUND,
        Capability.VOID_PAYMENT,
        Capability.VOID_INVOICE,
        Capability.CREDIT_NOTE,
        Capability.ALLOCATE_CREDIT,
        Capability.RECORD_REFUND,
        Capability.SEND_MESSAGE,
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


class OrderPlatform(Connector, Protocol):
    """Where the order lives."""

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer: ...

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """What these units are worth to the customer, taxes and discounts included."""

    def cancel_order(self, command: CancelOrder) -> Outcome: ...
    def find_cancel_order(self, command: CancelOrder) -> Found: ...
    def cancel_lines(self, command: CancelLines) -> Outcome: ...
    def find_cancel_lines(self, command: CancelLines) -> Found: ...


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
    def allocate_credit(self, command: AllocateCredit) -> Outcome: ...
    def find_allocate_credit(self, command: AllocateCredit) -> Found: ...
    def record_refund(self, command: RecordRefund) -> Outcome: ...
    def find_record_refund(self, command: RecordRefund) -> Found: ...


class Messenger(Connector, Protocol):
    def send_message(self, command: SendMessage) -> Outcome: ...
    def find_send_message(self, command: SendMessage) -> Found: ...


class Inbound(Protocol):
    """The vendor's side of our front door. Needs its secret only, no connection."""

    platform: ClassVar[str]

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """Checks the signature over the raw bytes in constant time, before anything is parsed."""

    def read_event(self, topic: str, body: bytes) -> Reading:
        """What a verified delivery says. Raises MalformedError with the field's path."""
