"""Commands: one effect on one platform, in our words. A connector turns a command into its vendor's request.

Every command carries `step_key` (our reference, put where the vendor lets us find it again) and `key` (the idempotency
key on the wire). Amounts and currencies are always explicit (rule of money 4).
"""

from __future__ import annotations

from dataclasses import dataclass

from refundflow.domain.facts import InvoiceFacts, ItemQuantity, LineQuantity
from refundflow.domain.ids import StepKey
from refundflow.domain.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    step_key: StepKey
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder(Command):
    """Cancel a whole, unfulfilled order. `restock`: the platform owns the stock and puts it back with the cancel.

    Money is never returned by a cancel: refunds are their own steps, with their amounts. `restock` False: this platform
    must not raise its stock; one that cannot be kept from it refuses. `reason`: customer | declined | fraud | inventory |
    staff | other.
    """

    order_id: str
    reason: str
    restock: bool
    order_number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelLines(Command):
    """Take some unfulfilled units out of an order. `restock` as in `CancelOrder`; no money is returned."""

    order_id: str
    currency: str
    lines: tuple[LineQuantity, ...]
    restock: bool
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restock(Command):
    """Put units back on the shelf. `carried_by`: the step whose call already does it on this platform; then there is
    nothing to send, only to prove. `is_return`: the units had been shipped and came back. `items`: the same units by SKU,
    for an owner that does not know the order platform's lines.
    """

    order_id: str
    currency: str
    lines: tuple[LineQuantity, ...]
    carried_by: str = ""
    is_return: bool = False
    location: str = ""
    order_number: str = ""
    items: tuple[ItemQuantity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Command):
    """Give back part or all of one captured payment. `payment_reference`: as in `PaymentFacts.reference`;
    `replaces`: the step of an earlier refund that failed after it had gone out.

    `lines`: the units that the money is for, in the order platform's ids (empty: money alone); `takes_out`: on this
    platform the refund itself takes these units out of the order (`TakesBack.REFUND`), and with `restock` puts them back
    on the shelf; where it is False the refund changes neither units nor stock. `is_whole`: all that was left of the order.
    """

    order_id: str
    order_number: str
    payment_reference: str
    gateway: str
    amount: Money
    reason: str = "customer"
    replaces: str = ""
    lines: tuple[LineQuantity, ...] = ()
    takes_out: bool = False
    restock: bool = False
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidPayment(Command):
    """Release an authorisation that was never captured. `amount`: what is released, for the record."""

    order_id: str
    payment_reference: str
    amount: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOrderRefund(Command):
    """Write down on the order that somebody else returned `amount`. This platform must not return any money for it.

    `refund_references`: the payers' ids of these refunds, joined by ", "; `lines`, `takes_out`, `restock`, `is_whole` as in
    `Refund`.
    """

    order_id: str
    order_number: str
    amount: Money
    reason: str = "customer"
    refund_references: str = ""
    lines: tuple[LineQuantity, ...] = ()
    takes_out: bool = False
    restock: bool = False
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidInvoice(Command):
    """Void (or delete, where it is a draft) an invoice on which nothing was paid."""

    invoice: InvoiceFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNote(Command):
    """Write a credit note over `amount` for an invoice. `number`: ours, deterministic, at most 40 characters.

    `items`: the units that it is for, by SKU (empty: not known; the note is over the amount alone); `restock`: the books own
    the stock and these units come back with the note; where it is False the note moves no stock.
    """

    invoice: InvoiceFacts
    amount: Money
    number: str
    memo: str
    items: tuple[ItemQuantity, ...] = ()
    restock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateCredit(Command):
    """Set part of a credit note against the invoice that is still due. `credit_note_id`: the books' id, filled in
    from the step that wrote the note.
    """

    invoice_id: str
    amount: Money
    credit_note_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRefund(Command):
    """Record the cash refund: on a credit note, or as a refund receipt of its own (`RefundedBy.RECEIPT`), for which
    `invoice`, `number`, `memo` and `items` are given as in `CreditNote`. `refund_reference`: the payer's id of the refund.
    """

    amount: Money
    account_code: str
    credit_note_id: str = ""
    refund_reference: str = ""
    invoice: InvoiceFacts | None = None
    number: str = ""
    memo: str = ""
    items: tuple[ItemQuantity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMessage(Command):
    """One message, already written. `to`: an address, a telephone number (E.164) or a channel; `html` and `blocks` (Block Kit, as
    JSON text) where the channel has them; `updates`: the reference of our earlier message of the case that this one takes the
    place of, where the channel can change what it has posted.
    """

    to: str
    template: str
    subject: str
    text: str
    html: str = ""
    blocks: str = ""
    updates: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentTicket(Command):
    """A comment on the case's ticket in the support desk, already written. `ticket_id`: the ticket that asked for the
    cancellation; empty: the ticket that carries our case id, made where there is none (for `requester_email`).

    `is_public`: the customer reads it, else agents only; `tags`: added, never removed; `status`: open | pending | solved, or
    empty: left as it is. A ticket that can take no more comments is followed by a new one.
    """

    case_id: str
    order_number: str
    template: str
    subject: str
    text: str
    html: str = ""
    ticket_id: str = ""
    requester_email: str = ""
    requester_name: str = ""
    is_public: bool = False
    tags: tuple[str, ...] = ()
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRecord(Command):
    """The case's one record in a tool that people look at (a card, a row): made where there is none, else brought to this state.

    `title`: one line; `state`: running | held | attention | complete | declined | nothing_to_do; `text`: the report for people;
    `fields`: (name, value) pairs, always the same names in the same order; `version`: grows as the case moves: a record that
    shows a higher one is left as it is; `record_id`: the tool's id of the record where an earlier step left one.
    """

    case_id: str
    title: str
    state: str
    text: str
    fields: tuple[tuple[str, str], ...]
    version: int
    record_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanTask(Command):
    """What a person does because no platform of ours can. `text`: exact instructions, by when, and what is proof; `lines`:
    the units of the order that the person takes out of it; `payment_reference`: the payment whose money the person gives
    back. Empty where the task is not about that.
    """

    text: str
    lines: tuple[LineQuantity, ...] = ()
    payment_reference: str = ""


AnyCommand = (
    CancelOrder
    | CancelLines
    | Restock
    | Refund
    | VoidPayment
    | RecordOrderRefund
    | VoidInvoice
    | CreditNote
    | AllocateCredit
    | RecordRefund
    | SendMessage
    | CommentTicket
    | KeepRecord
    | HumanTask
)
