"""What a verified delivery says, in our words: the vocabulary that connectors read events into."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from refundflow.domain.facts import DisputeState, LineQuantity, OrderRef, RefundStatus
from refundflow.domain.money import Money


@dataclass(frozen=True, slots=True)
class CancellationRequested:
    """Somebody wants an order, or some of its lines, cancelled. `lines` empty: the whole order.

    `reason`: customer | declined | fraud | inventory | staff | other. `requested_by`: who asked, for the rule that a
    requester does not approve. `ticket_id`: the support desk's ticket in which it was asked. `is_proven`: the source knows who
    asks; where it does not (an e-mail's sender), no money moves before that person, or one of the shop, confirms it.
    """

    order: OrderRef
    lines: tuple[LineQuantity, ...] = ()
    reason: str = "customer"
    requested_by: str = ""
    note: str = ""
    ticket_id: str = ""
    is_proven: bool = True


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


class MessageStatus(StrEnum):
    """What became of a message. DELIVERED: the recipient's side took it. BOUNCED: it will not arrive. COMPLAINED: the recipient
    called it unwanted. OPTED_OUT: the recipient wants no more of them.
    """

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    OPTED_OUT = "opted_out"


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """A carrier says what became of a message of ours. `step_key`: the step that sent it."""

    platform: str
    step_key: str
    status: MessageStatus
    why: str = ""


@dataclass(frozen=True, slots=True)
class MessagesSeen:
    """Several such words in one delivery, in the order told."""

    messages: tuple[MessageSeen, ...]


@dataclass(frozen=True, slots=True)
class MailReceived:
    """Somebody wrote an e-mail to the shop. `sender`: the address in From, lower case; `text`: what was written, without what is
    quoted below it where the carrier cuts that off; `is_authenticated`: SPF or DKIM passed for the sender's own domain;
    `is_automatic`: an auto-reply, a bounce, a list, or a mail of our own that came back.
    """

    message_id: str
    sender: str
    subject: str
    text: str
    sender_name: str = ""
    is_authenticated: bool = False
    is_automatic: bool = False


@dataclass(frozen=True, slots=True)
class OperatorWord:
    """A person of the shop decided about a held case in a tool of theirs. `member`: who, in the tool's own id."""

    platform: str
    case_id: str
    is_approved: bool
    member: str
    reason: str = ""


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
    | MessageSeen
    | MessagesSeen
    | MailReceived
    | OperatorWord
    | Irrelevant
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP delivery as it came. `headers`: lower-case names; `body`: the raw bytes that signatures cover; `query`: what stood
    behind the "?" of the address, not decoded, for sources that sign the whole address.
    """

    headers: dict[str, str] = field(hash=False)
    body: bytes
    query: str = ""


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
