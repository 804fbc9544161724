"""The one place where a command meets its connector, and where trouble on the wire becomes an outcome."""

from __future__ import annotations

from typing import assert_never

from refundflow.connectors.base import Capability, Idempotency, OrderMirror
from refundflow.domain.commands import (
    AllocateCredit,
    AnyCommand,
    CancelLines,
    CancelOrder,
    CommentTicket,
    CreditNote,
    HumanTask,
    KeepRecord,
    RecordOrderRefund,
    RecordRefund,
    Refund,
    Restock,
    SendMessage,
    VoidInvoice,
    VoidPayment,
)
from refundflow.domain.outcomes import (
    AlreadyDone,
    Found,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step
from refundflow.flow.context import Platforms
from refundflow.transport.base import MaybeSentError, NotSentError, PacedError


def send(platforms: Platforms, step: Step, command: AnyCommand) -> Outcome:
    """Tries the effect once."""
    try:
        outcome = _send(platforms, step.platform, command)
    except PacedError as error:
        return Retryable("paced", error.reason, error.after_s)
    except NotSentError as error:
        return Retryable("not_sent", error.reason, error.after_s)
    except MaybeSentError as error:
        return Unknown(error.reason)
    if isinstance(command, Refund) and isinstance(outcome, AlreadyDone):
        # Money that somebody else gave back is not our refund: a person compares the two.
        return Permanent("refunded_elsewhere", f"the payer says it was refunded already: {outcome.reference}")
    return outcome


def look(platforms: Platforms, step: Step, command: AnyCommand) -> Found:
    """Asks what really happened. A look that got no answer is never a "no": the step stays as uncertain as it was."""
    try:
        found = _look(platforms, step.platform, command)
    except (NotSentError, MaybeSentError) as error:
        found = Unknown(f"could not ask: {error.reason}")
    match found:
        case Retryable(reason=reason):
            found = Unknown(f"could not ask: {reason}")
        case AlreadyDone(reference=reference) if isinstance(command, Refund):
            return Permanent("refunded_elsewhere", f"the payer says it was refunded already: {reference}")
        case _:
            pass
    if isinstance(found, Unknown) and step.state is StepState.PENDING:
        return Pending(step.reference)
    return found


def _send(platforms: Platforms, platform: str, command: AnyCommand) -> Outcome:
    match command:
        case CancelOrder():
            return holder(platforms, platform).cancel_order(command)
        case CancelLines():
            return platforms.lines[platform].cancel_lines(command)
        case Restock():
            return platforms.stock[platform].restock(command)
        case Refund():
            return platforms.refunders[platform].refund(command)
        case VoidPayment():
            return platforms.voiders[platform].void_payment(command)
        case RecordOrderRefund():
            return platforms.recorders[platform].record_order_refund(command)
        case VoidInvoice():
            return platforms.books[platform].void_invoice(command)
        case CreditNote():
            return platforms.books[platform].credit_note(command)
        case AllocateCredit():
            return platforms.allocators[platform].allocate_credit(command)
        case RecordRefund():
            return platforms.books[platform].record_refund(command)
        case SendMessage():
            return platforms.messengers[platform].send_message(command)
        case CommentTicket():
            return platforms.desks[platform].comment_ticket(command)
        case KeepRecord():
            return platforms.keepers[platform].keep_record(command)
        case HumanTask():
            return Permanent("human_task", "a person does this")
        case _:
            assert_never(command)


def _look(platforms: Platforms, platform: str, command: AnyCommand) -> Found:
    match command:
        case CancelOrder():
            return holder(platforms, platform).find_cancel_order(command)
        case CancelLines():
            return platforms.lines[platform].find_cancel_lines(command)
        case Restock():
            return platforms.stock[platform].find_restock(command)
        case Refund():
            return platforms.refunders[platform].find_refund(command)
        case VoidPayment():
            return platforms.voiders[platform].find_void_payment(command)
        case RecordOrderRefund():
            return platforms.recorders[platform].find_record_order_refund(command)
        case VoidInvoice():
            return platforms.books[platform].find_void_invoice(command)
        case CreditNote():
            return platforms.books[platform].find_credit_note(command)
        case AllocateCredit():
            return platforms.allocators[platform].find_allocate_credit(command)
        case RecordRefund():
            return platforms.books[platform].find_record_refund(command)
        case SendMessage():
            return platforms.messengers[platform].find_send_message(command)
        case CommentTicket():
            return platforms.desks[platform].find_comment_ticket(command)
        case KeepRecord():
            return platforms.keepers[platform].find_keep_record(command)
        case HumanTask():
            return NotFound(None, "only the person who does this knows")
        case _:
            assert_never(command)


def holder(platforms: Platforms, platform: str) -> OrderMirror:
    """The connector that holds an order: where it was placed, or a mirror of it. KeyError where there is none."""
    return platforms.orders[platform] if platform in platforms.orders else platforms.mirrors[platform]


def is_configured(platforms: Platforms, step: Step) -> bool:
    """Whether the step's platform is set up for what the step does."""
    match step.command:
        case CancelOrder():
            return step.platform in platforms.orders or step.platform in platforms.mirrors
        case CancelLines():
            return step.platform in platforms.lines
        case RecordOrderRefund():
            return step.platform in platforms.recorders
        case AllocateCredit():
            return step.platform in platforms.allocators
        case Restock():
            return step.platform in platforms.stock
        case Refund():
            return step.platform in platforms.refunders
        case VoidPayment():
            return step.platform in platforms.voiders
        case VoidInvoice() | CreditNote() | RecordRefund():
            return step.platform in platforms.books
        case SendMessage():
            return step.platform in platforms.messengers
        case CommentTicket():
            return step.platform in platforms.desks
        case KeepRecord():
            return step.platform in platforms.keepers
        case HumanTask():
            return True
        case _:
            assert_never(step.command)


def is_natural(platforms: Platforms, step: Step) -> bool:
    """Whether repeating the step's call cannot act twice at its vendor (a cancelled order cannot be cancelled again)."""
    connector = platforms.all.get(step.platform)
    operation = connector.spec.operations.get(Capability(step.action)) if connector else None
    return operation is not None and operation.idempotency is Idempotency.NATURAL


def describe(found: Found) -> str:
    """One line for people on what a try or a look came to."""
    match found:
        case NotFound(reason=reason):
            return f"not there: {reason}"
        case Pending(reference=reference):
            return f"pending: {reference}"
        case Permanent(code=code, reason=reason) | Retryable(code=code, reason=reason):
            return f"{code}: {reason}"
        case Unknown(reason=reason):
            return f"unknown: {reason}"
        case _:
            return f"done: {found.reference}{f' ({found.detail})' if found.detail else ''}"
