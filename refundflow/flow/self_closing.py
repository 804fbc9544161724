"""Human tasks that end by themselves: a person did in a channel what no call can do, and the channel shows it now."""

from __future__ import annotations

from sqlalchemy import Connection

from refundflow.domain.commands import HumanTask
from refundflow.domain.facts import Facts, OrderFacts, PaymentFacts
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind
from refundflow.flow.context import Context, Runner, Wave
from refundflow.flow.gather import ReadLater, Unreadable, read_payment_of
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, steps


def open_tasks(connection: Connection, platform: str, order_id: str) -> list[Step]:
    """The tasks of the order's newest case that wait for a person on that platform."""
    latest = cases.latest_of_order(connection, platform, order_id)
    all_steps = steps.of_case(connection, latest.case_id) if latest else []
    return [
        s
        for s in all_steps
        if s.kind is StepKind.HUMAN_TASK and s.platform == platform and s.state is StepState.DEAD_LETTERED
    ]


def close_tasks(context: Context, order: OrderFacts, runner: Runner) -> Wave | ReadLater | None:
    """Ends those tasks of the order whose effect its platform shows. What it shows is compared with the facts of the decision that
    asked for it; a task of which only a part is to be seen stays open. None where nothing ended.
    """
    waiting = context.db.run(lambda connection: open_tasks(connection, order.platform, order.order_id))
    if not waiting:
        return None
    now_paid: dict[str, PaymentFacts] = {}
    for payment in order.payments:
        told = read_payment_of(context, order, payment)
        if isinstance(told, ReadLater):
            return told
        if not isinstance(told, Unreadable):
            now_paid[told.reference] = told
    return context.db.run(lambda connection: _close(context, connection, waiting, order, now_paid, runner))


def _close(
    context: Context,
    connection: Connection,
    waiting: list[Step],
    order: OrderFacts,
    now_paid: dict[str, PaymentFacts],
    runner: Runner,
) -> Wave | None:
    case = cases.load(connection, waiting[0].case_id, lock=True)
    assert case is not None, "a step's case exists"
    if case.decision_id is None:
        return None
    then = cases.load_decision(connection, case.decision_id).facts
    now, ended = context.now(), False
    for was in waiting:
        step = steps.load(connection, was.step_key, lock=True)
        if (
            step is None
            or step.state is not StepState.DEAD_LETTERED
            or not is_seen(step, then, order, now_paid)
        ):
            continue
        proof = f"{order.platform} shows it"
        steps.move(connection, step, StepState.SUCCEEDED, code="seen", reason=proof, reference=proof, now=now)
        audit.write(
            connection,
            case.case_id,
            "step.resolved",
            now=now,
            actor=runner.worker,
            step_key=step.step_key,
            proof=proof,
        )
        ended = True
    if not ended:
        return None
    return settle_locked(context, connection, case, steps.of_case(connection, case.case_id), now=now)


def is_seen(step: Step, then: Facts, order: OrderFacts, now_paid: dict[str, PaymentFacts]) -> bool:
    """Whether all that the task asks for has happened since its facts were read. A task that names neither units nor a payment
    asks for something that no facts show.
    """
    command = step.command
    if not isinstance(command, HumanTask) or not (command.lines or command.payment_reference):
        return False
    if command.lines and order.cancelled_at is None:
        before = {line.line_id: line.refundable for line in then.order.lines}
        left = {line.line_id: line.refundable for line in order.lines}
        taken = all(before.get(x.line_id, 0) - left.get(x.line_id, 0) >= x.quantity for x in command.lines)
        if not taken:
            return False
    if command.payment_reference:
        known = {p.reference: p.refunded for p in then.payments}
        paid = now_paid.get(command.payment_reference)
        if paid is None or step.amount is None or paid.captured.currency != step.amount.currency:
            return False
        if paid.refunded - known.get(command.payment_reference, 0) < step.amount.minor:
            return False
    return True
