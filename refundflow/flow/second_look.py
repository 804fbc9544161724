"""The second look: a refund or a record of one that we hold for done is asked about again, a day and a week later.

Some failures come without a word: a webhook that was lost, a gateway that tells nobody, a person who deletes the record of
a refund. A look never sends anything. What the vendor now calls failed is reversed, as its own late word would be; what is not
shown any more is not called failed: a person is told, with what is known.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from refundflow.domain.commands import Refund
from refundflow.domain.ids import StepKey
from refundflow.domain.outcomes import NotFound, Permanent
from refundflow.domain.plan import human_task, tell_staff
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, next_look_at
from refundflow.flow import act, late_word
from refundflow.flow.carry_out import insert_plan
from refundflow.flow.context import Context, Runner, Wave
from refundflow.flow.gather import ReadLater
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, steps

_ASK_AGAIN_S: Final = 3600.0


def look_again(context: Context, step_key: StepKey, runner: Runner) -> Wave | None:
    """Asks the vendor about one step that is held for done; at most one look is made however often this is called, for the next
    one is written down with what this one found. A vendor that does not answer is asked again in an hour.
    """
    owed = context.db.run(lambda connection: steps.look_owed(connection, step_key))
    step = context.db.run(lambda connection: steps.load(connection, step_key))
    if owed is None or step is None or step.state is not StepState.SUCCEEDED:
        return None
    if not act.is_configured(context.platforms, step):
        _put_off(context, step, context.now() + timedelta(seconds=_ASK_AGAIN_S))
        return None
    found = late_word.ask(context, step)
    now = context.now()
    match found:
        case ReadLater(after_s=after_s):
            _put_off(context, step, now + timedelta(seconds=max(_ASK_AGAIN_S, after_s or 0.0)))
            return None
        case Permanent(code="refund_failed") if isinstance(step.command, Refund):
            # The look stays owed until its news is written down: a worker that dies before is followed by another look.
            wave = late_word.apply(context, step, found, runner)
            _put_off(context, step, None)
            return wave
        case NotFound(conclusive_until_s=float() | int() as until) if now > owed.ended_at + timedelta(
            seconds=until
        ):
            _put_off(context, step, None)  # the vendor forgets such things by then: its silence means nothing
            return None
        case NotFound(reason=reason) | Permanent(reason=reason):
            return context.db.run(lambda connection: _tell_person(context, connection, step, reason, runner))
        case _:
            next_at = next_look_at(step.action, owed.ended_at, now, context.second_looks_h)
            context.db.run(lambda connection: _confirm(context, connection, step, next_at, runner))
            return None


def _put_off(context: Context, step: Step, at: datetime | None) -> None:
    context.db.run(lambda connection: steps.set_look_again(connection, step.step_key, at))


def _confirm(
    context: Context, connection: Connection, step: Step, next_at: datetime | None, runner: Runner
) -> None:
    if steps.set_look_again(connection, step.step_key, next_at):
        audit.write(
            connection,
            step.case_id,
            "step.confirmed",
            now=context.now(),
            actor=runner.worker,
            step_key=step.step_key,
            reference=step.reference,
        )


def _tell_person(
    context: Context, connection: Connection, was: Step, reason: str, runner: Runner
) -> Wave | None:
    """One transaction. Money: the step stands as it is, and a person asks the payer. A paper: it is not there any more, so the
    step is reversed, and a person says whether that was meant.
    """
    now = context.now()
    case = cases.load(connection, was.case_id, lock=True)
    step = steps.load(connection, was.step_key, lock=True)
    assert case is not None, "a step's case exists"
    assert step is not None, "a step is never deleted"
    if step.state is not StepState.SUCCEEDED or not steps.set_look_again(connection, step.step_key, None):
        return None
    what = f"{step.action.replace('_', ' ')} {step.reference}"
    amount = f" of {step.amount}" if step.amount else ""
    if isinstance(step.command, Refund):
        text = (
            f"{what}{amount} was done, and {step.platform} does not show it any more as it was: {reason}. Ask the payer whether the "
            "customer has the money. If so, resolve this task with the proof; if not, pay another way and say so in the proof. "
            "Nothing was sent again."
        )
    else:
        steps.move(connection, step, StepState.REVERSED, code="gone", reason=reason, now=now)
        text = (
            f"{what}{amount} was written in {step.platform} and is not there any more: {reason}. If somebody took it back on purpose, resolve "
            f"this task and say why; if not, `refundflow case replan {case.case_id}` shows what would be written again."
        )
    audit.write(
        connection,
        case.case_id,
        "step.not_shown",
        now=now,
        actor=runner.worker,
        step_key=step.step_key,
        reference=step.reference,
        reason=reason,
    )
    existing = steps.of_case(connection, case.case_id)
    planned = [human_task(case.case_id, existing, step.platform, text, step.amount)]
    planned += tell_staff(case.case_id, context.routing_of(case.platform), [*existing, *planned])
    insert_plan(connection, case, planned, existing, now=now, actor=runner.worker)
    return settle_locked(context, connection, case, steps.of_case(connection, case.case_id), now=now)
