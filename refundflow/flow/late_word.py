"""Late words: a refund that failed after it had succeeded, a dispute that opens while a refund waits."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection

from refundflow.domain.commands import RecordOrderRefund, RecordRefund
from refundflow.domain.facts import DisputeState
from refundflow.domain.inbound import DisputeSeen
from refundflow.domain.outcomes import Found, NotFound, Permanent, Unknown
from refundflow.domain.plan import human_task, tell_customer, tell_staff
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step
from refundflow.flow import act
from refundflow.flow.carry_out import insert_plan
from refundflow.flow.command import command_of
from refundflow.flow.context import Context, Launch, Runner, Wave
from refundflow.flow.gather import ReadLater
from refundflow.flow.run_step import let_go
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, ledger, payments, steps


def ask(context: Context, step: Step) -> Found | ReadLater:
    """What the payer says of a refund that we hold for done."""
    found = act.look(context.platforms, step, command_of(context, step))
    if isinstance(found, Unknown):
        return ReadLater(step.platform, found.reason)
    return found


def apply(context: Context, step: Step, found: Found, runner: Runner) -> Wave | None:
    """Reverses a succeeded refund that the payer now calls failed; anything else changes nothing."""
    match found:
        case Permanent(code="refund_failed", reason=reason):
            return context.db.run(lambda connection: _reverse(context, connection, step, reason, runner))
        case NotFound():
            return None  # not shown is not failed
        case _:
            return None


def _reverse(context: Context, connection: Connection, was: Step, reason: str, runner: Runner) -> Wave | None:
    """One transaction: the step, the payment, the journal, the case, and the truth for customer and staff."""
    now = context.now()
    case = cases.load(connection, was.case_id, lock=True)
    step = steps.load(connection, was.step_key, lock=True)
    assert case is not None
    assert step is not None
    if step.state is not StepState.SUCCEEDED or step.payment_id is None or step.amount is None:
        return None
    steps.move(connection, step, StepState.REVERSED, code="refund_failed", reason=reason, now=now)
    payments.unsettle(connection, step.payment_id, step.amount.minor)
    ledger.book_reversal(
        connection,
        case_id=case.case_id,
        step_key=step.step_key,
        platform=step.platform,
        amount=step.amount,
        now=now,
        memo=f"refund {step.reference} failed: {reason}",
    )
    audit.write(
        connection,
        case.case_id,
        "step.reversed",
        now=now,
        actor=runner.worker,
        step_key=step.step_key,
        amount=str(step.amount),
        reason=reason,
    )
    existing = steps.of_case(connection, case.case_id)
    routing = context.routing_of(case.platform)
    planned = []
    decision = cases.load_decision(connection, case.decision_id) if case.decision_id else None
    if decision is not None:
        planned += tell_customer(case.case_id, decision.facts, routing, "refund_failed", existing)
    planned.append(
        human_task(
            case.case_id,
            [*existing, *planned],
            step.platform,
            f"Refund {step.reference} of {step.amount} failed at {step.platform} after it had been accepted: {reason}. "
            "The customer does not have the money. Agree on another way with the customer, or plan it again with "
            f"`refundflow case replan {case.case_id}`; then resolve this task with the proof.",
            step.amount,
        )
    )
    recorded = [
        s
        for s in existing
        if isinstance(s.command, RecordRefund | RecordOrderRefund)
        and any(name.startswith("refund_reference") and key == step.step_key for name, key in s.uses)
    ]
    for booked in recorded:
        if booked.state is StepState.SUCCEEDED:
            planned.append(
                human_task(
                    case.case_id,
                    [*existing, *planned],
                    booked.platform,
                    f"Undo {booked.reference} ({step.amount}) in {booked.platform}: the refund that it records failed. "
                    "Whatever else was written for it stays open until the customer is paid.",
                    step.amount,
                )
            )
    planned += tell_staff(
        case.case_id, routing, [*existing, *planned], decision.facts if decision is not None else None
    )
    insert_plan(connection, case, planned, existing, now=now, actor=runner.worker)
    return settle_locked(context, connection, case, steps.of_case(connection, case.case_id), now=now)


def hurry(context: Context, step: Step) -> Wave | None:
    """News about a step that waits: it is looked at now instead of when it would be due."""

    def work(connection: Connection) -> Wave | None:
        now = context.now()
        if not steps.hurry(connection, step, now=now, due_at=now + timedelta(seconds=context.relaunch_s)):
            return None
        return Wave(step.case_id, (Launch(step.step_key, step.kind),))

    return context.db.run(work)


def note_dispute(context: Context, connection: Connection, seen: DisputeSeen) -> Wave | None:
    """Writes the dispute down under the payment's lock, and takes back every refund of it that has not gone out.

    A refund that is on the wire, pending or unknown is left to its own end: the provider refuses it or has paid it.
    """
    now = context.now()
    payment = payments.by_reference(connection, seen.platform, seen.payment_reference)
    if payment is None:
        return None
    holders = steps.of_payment(connection, payment["payment_id"])
    locked = {
        s.case_id: cases.load(connection, s.case_id, lock=True)
        for s in sorted(holders, key=lambda s: s.case_id)
    }
    for holder in holders:
        steps.lock(connection, holder.step_key)
    payments.lock(connection, payment["payment_id"])
    payments.set_dispute(
        connection,
        seen.platform,
        seen.payment_reference,
        dispute=seen.state.value,
        dispute_reference=seen.dispute_reference,
        now=now,
    )
    if seen.state not in (DisputeState.OPEN, DisputeState.LOST):
        return None
    wave = None
    for stale in holders:
        step = steps.load(connection, stale.step_key, lock=True)
        if (
            step is None
            or step.state not in (StepState.PLANNED, StepState.RETRY_SCHEDULED)
            or step.may_have_happened
        ):
            continue
        let_go(connection, step)
        steps.move(
            connection,
            step,
            StepState.SKIPPED,
            code="dispute",
            reason=f"a dispute on the payment is {seen.state.value}: the provider already took the money",
            now=now,
        )
        audit.write(
            connection,
            step.case_id,
            "step.skipped",
            now=now,
            actor=seen.platform,
            step_key=step.step_key,
            dispute=seen.dispute_reference,
        )
        case = locked[step.case_id]
        if case is not None:
            wave = settle_locked(context, connection, case, steps.of_case(connection, step.case_id), now=now)
    return wave
