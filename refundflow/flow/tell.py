"""Tell: what a message may say, from what is true at the moment it is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection

from refundflow.domain.commands import (
    CancelLines,
    CancelOrder,
    CommentTicket,
    KeepRecord,
    Refund,
    SendMessage,
)
from refundflow.domain.inbound import CancellationRequested, MalformedError
from refundflow.domain.plan import REPORT, WAVE, is_report
from refundflow.domain.states import CaseState, StepState, case_after
from refundflow.domain.steps import Step
from refundflow.flow.compose import Channel, MessageContext, RefundLine, StepLine
from refundflow.flow.context import Context
from refundflow.store import cases, inbox, steps

_REFUND_TEMPLATES = ("refund_sent",)


def write(
    context: Context, connection: Connection, step: Step, command: SendMessage | CommentTicket | KeepRecord
) -> SendMessage | CommentTicket | KeepRecord:
    """The message's text, composed now. Raises ComposeError when the rows do not support what it would say."""
    words = message_context(context, connection, step)
    match command:
        case SendMessage(template=template):
            composed = context.composer.compose(template, _channel_of(context, step), words)
            return replace(
                command,
                subject=composed.subject,
                text=composed.text,
                html=composed.html or "",
                blocks=composed.blocks or "",
                updates=_posted_before(connection, step, template),
            )
        case CommentTicket(template=template):
            composed = context.composer.compose(template, "email", words)
            return replace(
                command,
                order_number=words.order_number,
                subject=composed.subject,
                text=composed.text,
                html=composed.html or "",
                ticket_id=_ticket_of(context, connection, step),
                requester_name=words.customer_name,
                tags=("refundflow", f"refundflow-{words.case_state}"),
                status=_ticket_state(words.case_state) if template == REPORT else "",
            )
        case KeepRecord():
            composed = context.composer.compose(REPORT, "email", words)
            return replace(
                command,
                title=f"Order {words.order_number}",
                state=words.case_state,
                text=composed.text,
                fields=_record_fields(connection, step, words),
                version=step.number + 1,
                record_id=_record_before(connection, step),
            )


def _channel_of(context: Context, step: Step) -> Channel:
    if step.platform == "slack":
        return "slack"
    texters = {context.routing.sms_channel, *(routing.sms_channel for routing in context.routes.values())}
    return "sms" if step.platform in texters else "email"


def _posted_before(connection: Connection, step: Step, template: str) -> str:
    """The reference of our earlier report in this channel: it is changed, not followed by another one."""
    if template != REPORT:
        return ""
    before = [
        s.reference
        for s in steps.of_case(connection, step.case_id)
        if s.number < step.number
        and s.platform == step.platform
        and isinstance(s.command, SendMessage)
        and s.command.template == template
        and s.state is StepState.SUCCEEDED
    ]
    return before[-1] if before else ""


def _record_before(connection: Connection, step: Step) -> str:
    """The id of the case's record, where an earlier step left one."""
    before = [
        s.reference
        for s in steps.of_case(connection, step.case_id)
        if isinstance(s.command, KeepRecord)
        and s.platform == step.platform
        and s.reference
        and s.number < step.number
    ]
    return before[-1] if before else ""


def _ticket_of(context: Context, connection: Connection, step: Step) -> str:
    """The ticket in this desk that asked for the cancellation, or the one that an earlier comment of ours was written on."""
    inbound = context.platforms.inbound.get(step.platform)
    for source in cases.sources(connection, step.case_id):
        if source["source"] != step.platform or inbound is None:
            continue
        event = inbox.load(connection, source["event_id"])
        if event is None:
            continue
        try:
            reading = inbound.read_event(event.topic, event.body)
        except MalformedError:
            continue
        if isinstance(reading, CancellationRequested) and reading.ticket_id:
            return reading.ticket_id
    return ""


def _ticket_state(case_state: str) -> str:
    return {"complete": "solved", "declined": "solved", "nothing_to_do": "solved"}.get(case_state, "open")


def _record_fields(connection: Connection, step: Step, words: MessageContext) -> tuple[tuple[str, str], ...]:
    """Always these names in this order: the columns of a table stay what they are."""
    case = cases.load(connection, step.case_id)
    assert case is not None, "a step's case exists"
    sent = [str(refund.amount) for refund in words.refunds]
    waits = [f"{line.kind} on {line.platform}" for line in words.needs_person]
    sources = sorted({str(source["source"]) for source in cases.sources(connection, step.case_id)})
    return (
        ("Order", words.order_number),
        ("Reason", words.reason),
        ("Opened", case.opened_at.strftime("%Y-%m-%d %H:%M UTC")),
        ("Sources", ", ".join(sources)),
        ("Refunded", ", ".join(sent)),
        ("Needs a person", ", ".join(waits)),
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
        case_state=shown_state(case.state, all_steps).value,
        declined_reason=kept.decision.reason if kept else "",
        locale=order.locale if order else "",
        portal_url=context.portal_link(case.platform, case.order_number, context.now()),
    )


def shown_state(state: CaseState, all_steps: Iterable[Step]) -> CaseState:
    """How a case stands for people: a report that is only now being written does not keep it from being complete."""
    if state not in (CaseState.RUNNING, CaseState.ATTENTION, CaseState.COMPLETE):
        return state
    told = [s.state for s in all_steps if not is_report(s)]
    return case_after(told, has_stuck_unknown=False) if told else state


def _refund_states(step: Step) -> tuple[StepState, ...]:
    """Which refunds a message may speak of: those that went out; for a late failure those that came back; and when the
    cancellation itself is told, those that are still to come.
    """
    template = getattr(step.command, "template", "")
    if template == "refund_failed":
        return (StepState.REVERSED,)
    if template == "order_cancelled":
        return tuple(s for s in StepState if s not in (StepState.SKIPPED, StepState.REVERSED))
    return (StepState.SUCCEEDED,)


def money_state(connection: Connection, step: Step) -> str:
    """The money state that a message is bound to: it is said once per case, channel, template and this state."""
    template = getattr(step.command, "template", "")
    if template not in (*_REFUND_TEMPLATES, "refund_failed"):
        # Staff may hear of a case again when it was planned again; customers hear of a request or a cancel once.
        return f"report:{step.number}" if template == REPORT else "asked"
    told = [
        f"{other.number}={other.amount.minor}{other.amount.currency}"
        for other in steps.of_case(connection, step.case_id)
        if other.action == "refund" and other.amount is not None and other.state in _refund_states(step)
    ]
    # Which refunds, not only how much: money that came back and went out again is news.
    kind = "failed" if template == "refund_failed" else "sent"
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
        case SendMessage(template=template) | CommentTicket(template=template):
            return f"tell: {template}"
        case _:
            return step.action.replace("_", " ")


def _detail(step: Step) -> str:
    parts = [str(step.amount) if step.amount else "", step.reference, step.code, step.reason]
    return " · ".join(part for part in parts if part)
