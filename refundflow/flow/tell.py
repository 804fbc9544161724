"""Tell: what a message may say, from what is true at the moment it is sent."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from refundflow.domain.commands import CancelLines, CancelOrder, Refund, SendMessage
from refundflow.domain.plan import WAVE
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind
from refundflow.flow.compose import Channel, MessageContext, RefundLine, StepLine
from refundflow.flow.context import Context
from refundflow.store import cases, steps

_REFUND_TEMPLATES = ("refund_sent",)


def write(context: Context, connection: Connection, step: Step, command: SendMessage) -> SendMessage:
    """The message's text, composed now. Raises ComposeError when the rows do not support what it would say."""
    channel: Channel = "slack" if step.platform == "slack" else "email"
    composed = context.composer.compose(command.template, channel, message_context(context, connection, step))
    return replace(
        command,
        subject=composed.subject,
        text=composed.text,
        html=composed.html or "",
        blocks=composed.blocks or "",
    )


def message_context(context: Context, connection: Connection, step: Step) -> MessageContext:
    """What templates may know of a case."""
    case = cases.load(connection, step.case_id)
    assert case is not None, "a step's case exists"
    all_steps = steps.of_case(connection, step.case_id)
    kept = cases.load_decision(connection, case.decision_id) if case.decision_id else None
    order = kept.facts.order if kept else None
    titles = {line.line_id: line.title for line in order.lines} if order else {}
    told = {line.line_id: line.quantity for line in kept.decision.lines} if kept else {}
    return MessageContext(
        case_id=case.case_id,
        order_number=case.order_number,
        shop_name=context.shop.name,
        customer_name=order.customer_name if order else "",
        support_email=context.shop.support_email,
        lines=tuple((titles.get(line_id, line_id), quantity) for line_id, quantity in told.items()),
        refunds=tuple(
            RefundLine(amount=s.amount, method=_method(s))
            for s in all_steps
            if s.action == "refund" and s.amount is not None and s.state in _refund_states(step)
        ),
        is_partial=not (kept is not None and kept.decision.is_whole),
        reason=case.wanted.reason,
        steps=tuple(
            StepLine(kind=_label(s), platform=s.platform, state=s.state.value, detail=_detail(s))
            for s in all_steps
            if s.step_key != step.step_key and s.wave != WAVE["acknowledge"]
        ),
        case_state=case.state.value,
        declined_reason=kept.decision.reason if kept else "",
        locale=order.locale if order else "",
    )


def _refund_states(step: Step) -> tuple[StepState, ...]:
    """Which refunds a message may speak of: those that went out; for a late failure those that came back; and when the
    cancellation itself is told, those that are still to come.
    """
    template = step.command.template if isinstance(step.command, SendMessage) else ""
    if template == "refund_failed":
        return (StepState.REVERSED,)
    if template == "order_cancelled":
        return tuple(s for s in StepState if s not in (StepState.SKIPPED, StepState.REVERSED))
    return (StepState.SUCCEEDED,)


def money_state(connection: Connection, step: Step) -> str:
    """The money state that a message is bound to: it is said once per case, channel, template and this state."""
    if not isinstance(step.command, SendMessage) or step.command.template not in (
        *_REFUND_TEMPLATES,
        "refund_failed",
    ):
        # Staff may hear of a case again when it was planned again; customers hear of a request or a cancel once.
        return f"report:{step.number}" if step.platform == "slack" else "asked"
    told = [
        f"{other.number}={other.amount.minor}{other.amount.currency}"
        for other in steps.of_case(connection, step.case_id)
        if other.action == "refund" and other.amount is not None and other.state in _refund_states(step)
    ]
    # Which refunds, not only how much: money that came back and went out again is news.
    kind = "failed" if step.command.template == "refund_failed" else "sent"
    return f"{kind}:{','.join(told)}"


def _method(step: Step) -> str:
    return (
        step.command.gateway if isinstance(step.command, Refund) and step.command.gateway else step.platform
    )


def _label(step: Step) -> str:
    match step.command:
        case CancelOrder():
            return "cancel order"
        case CancelLines():
            return "cancel lines"
        case SendMessage(template=template) if step.kind is StepKind.NOTIFY:
            return f"tell: {template}"
        case _:
            return step.action.replace("_", " ")


def _detail(step: Step) -> str:
    parts = [str(step.amount) if step.amount else "", step.reference, step.code, step.reason]
    return " · ".join(part for part in parts if part)
