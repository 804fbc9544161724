"""What a verified delivery says, in our words: the vocabulary that connectors read events into."""

from __future__ import annotations

from dataclasses import dataclass, field

from refundflow.domain.facts import DisputeState, LineQuantity, OrderRef, RefundStatus
from refundflow.domain.money import Money


@dataclass(frozen=True, slots=True)
class CancellationRequested:
    """Somebody wants an order, or some of its lines, cancelled. `lines` empty: the whole order.

    `reason`: customer | declined | fraud | inventory | staff | other. `requested_by`: who asked, for the rule that a
    requester does not approve.
    """

    order: OrderRef
    lines: tuple[LineQuantity, ...] = ()
    reason: str = "customer"
    requested_by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class OrderCancelledElsewhere:
    """The order platform says that the order is cancelled (by a person there, or it is the echo of our own call)."""

    order: OrderRef
    reason: str = "other"


@dataclass(frozen=True, slots=True)
class RefundSeen:
    """A payer says how a refund stands. `step_key`: ours where the refund carries our reference, else empty."""

    platform: str
    payment_reference: str
    refund_reference: str
    status: RefundStatus
    amount: Money
    step_key: str = ""
    order: OrderRef | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class PaymentRefundsChanged:
    """Something about a payment's refunds changed, and the delivery does not say which: ask the payer."""

    platform: str
    payment_reference: str
    order: OrderRef | None = None


@dataclass(frozen=True, slots=True)
class DisputeSeen:
    """A payer says how a dispute (chargeback) or a warning of one stands."""

    platform: str
    payment_reference: str
    dispute_reference: str
    state: DisputeState
    amount: Money | None = None
    reason: str = ""
    order: OrderRef | None = None


@dataclass(frozen=True, slots=True)
class Irrelevant:
    """Verified and understood, and nothing for us to do."""

    why: str


Reading = (
    CancellationRequested
    | OrderCancelledElsewhere
    | RefundSeen
    | PaymentRefundsChanged
    | DisputeSeen
    | Irrelevant
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP delivery as it came. `headers`: lower-case names; `body`: the raw bytes that signatures cover."""

    headers: dict[str, str] = field(hash=False)
    body: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """The signature holds. `source_event_id`: the source's own id of the event (or a digest where it has none);
    `topic`: the source's name of what happened, needed to read the body later.
    """

    source_event_id: str
    topic: str


@dataclass(frozen=True, slots=True)
class Greeting:
    """A vendor trying out the address, with nothing to tell: answered 200 and not stored."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The delivery is not the source's, or not fresh. `reason` may be told to the caller: no secret in it."""

    reason: str


class MalformedError(ValueError):
    """A verified body that cannot be read. `field`: the path of what is wrong, in the body's own words."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"
