"""Run one step: load, decide, claim, act with no transaction open, record. The heart of the house.

At every cut point the rows say enough to go on: before the claim nothing happened; after it a dead worker's lease runs
out and the next one *looks* before it sends; after the record everything is known.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from refundflow.domain.commands import AnyCommand, CommentTicket, SendMessage
from refundflow.domain.ids import CaseId, StepKey
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.domain.states import ENDED, StepState, after
from refundflow.domain.steps import (
    Move,
    Step,
    decide,
    is_uncertain,
    limit_tries,
    next_look_at,
    next_try_s,
    settle_look,
)
from refundflow.flow import act, tell
from refundflow.flow.command import command_of
from refundflow.flow.compose import ComposeError
from refundflow.flow.context import Context, Runner
from refundflow.store import audit, cases, ledger, payments, runs, steps
from refundflow.store.steps import Claim, Ending
from refundflow.transport.http import record_exchanges

_BUSY_S = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to. `retry_in_s`: come again so soon by a Celery retry; None: the rows know when."""

    step_key: StepKey
    case_id: CaseId | None
    state: StepState | None
    move: Move
    retry_in_s: float | None = None


def run_step(context: Context, step_key: StepKey, runner: Runner) -> Report:
    """Carries one step a bit further, at most by one call of its vendor's effect. Safe to call at any time, twice, anywhere.

    Raises DatabaseAwayError when PostgreSQL stays away; the claim, if one was made, then runs out by itself.
    """
    step = context.db.run(lambda connection: steps.load(connection, step_key))
    if step is None:
        return Report(step_key, None, None, Move.LEAVE)
    now = context.now()
    move = decide(step, now, context.pace)
    if move is Move.LEAVE:
        return _leave(context, step, runner, now)
    if not act.is_configured(context.platforms, step):
        # Not a vendor's no: the step waits, in sight, until the settings name the platform again.
        return _park_unconfigured(context, step, now)
    by = Claim(token=uuid.uuid4().hex, task_id=runner.task_id, worker=runner.worker)
    if move is Move.PARK:
        return _park(context, step, by, now)
    try:
        command = command_of(context, step)
    except ComposeError as error:
        return _refuse_to_tell(context, step, move, by, str(error))
    claimed = context.db.run(lambda connection: _claim(context, connection, step, command, move, by))
    if isinstance(claimed, Report):
        return claimed
    with record_exchanges() as exchanges:
        found: Outcome | NotFound
        if move is Move.SEND:
            found = act.send(context.platforms, step, command)
        else:
            found = act.look(context.platforms, step, command)
    return _record(context, step, claimed, found, move, by, [asdict(x) for x in exchanges])


def _leave(context: Context, step: Step, runner: Runner, now: datetime) -> Report:
    def work(connection: Connection) -> None:
        runs.keep_run(
            connection,
            task_id=runner.task_id,
            name=f"refundflow.{step.kind.value}",
            subject=step.step_key,
            case_id=step.case_id,
            worker=runner.worker,
            started_at=now,
            ended_at=now,
            outcome=f"left alone: {step.state.value}",
        )

    context.db.run(work)
    return Report(step.step_key, step.case_id, step.state, Move.LEAVE)


def _claim(
    context: Context, connection: Connection, step: Step, command: AnyCommand, move: Move, by: Claim
) -> Step | Report:
    """Commits the intent before the call. A refund whose payment a dispute took is skipped here, under that lock."""
    now = context.now()
    if isinstance(command, SendMessage | CommentTicket) and move is Move.SEND:
        said_before = not runs.book_message(
            connection,
            case_id=step.case_id,
            channel=step.platform,
            template=command.template,
            money_state=tell.money_state(connection, step),
            step_key=step.step_key,
            now=now,
        )
        if said_before:
            steps.move(
                connection,
                step,
                StepState.SKIPPED,
                code="said_before",
                reason="the same was said already",
                now=now,
            )
            _wake(context, connection, step, now)
            return Report(step.step_key, step.case_id, StepState.SKIPPED, move)
    if step.action == "refund" and step.payment_id is not None:
        steps.lock(connection, step.step_key)
        payment = payments.lock(connection, step.payment_id)
        if payment and payment["dispute"] in ("open", "lost") and move is Move.SEND:
            return _yield_to_dispute(context, connection, step, payment["dispute"], now)
    claimed = steps.claim(connection, step, move, by, now=now, lease_s=context.pace.lease_s)
    if claimed is not None:
        return claimed
    if steps.is_held_by(connection, step.step_key, by.token):
        # Our own claim, committed before its answer got lost.
        mine = steps.load(connection, step.step_key)
        assert mine is not None
        return mine
    current = steps.load(connection, step.step_key)
    assert current is not None
    if current.version == step.version and current.state is step.state:
        # Nothing moved, so another refund of the same payment is on the wire: come back when it is home.
        return Report(step.step_key, step.case_id, current.state, move, retry_in_s=_BUSY_S)
    return Report(step.step_key, step.case_id, current.state, Move.LEAVE)


def _yield_to_dispute(
    context: Context, connection: Connection, step: Step, dispute: str, now: datetime
) -> Report:
    """A dispute beats a refund: the provider took the money already, so nothing is sent and nothing stays reserved."""
    let_go(connection, step)
    if step.state is StepState.PLANNED or step.state is StepState.RETRY_SCHEDULED:
        steps.move(
            connection,
            step,
            StepState.SKIPPED,
            code="dispute",
            reason=f"a dispute on the payment is {dispute}: the provider already took the money",
            now=now,
        )
        audit.write(
            connection,
            step.case_id,
            "step.skipped",
            now=now,
            actor="run",
            step_key=step.step_key,
            why="dispute",
        )
    _wake(context, connection, step, now)
    return Report(step.step_key, step.case_id, StepState.SKIPPED, Move.LEAVE)


def let_go(connection: Connection, step: Step) -> None:
    """Gives the step's reservation back, once."""
    if step.payment_id is None or step.amount is None or step.action != "refund":
        return
    if steps.set_reserved(connection, step.step_key, is_reserved=False):
        payments.release(connection, step.payment_id, step.amount.minor)


def _wake(context: Context, connection: Connection, step: Step, now: datetime) -> None:
    """Should the message that settles the case get lost, the sweep settles it."""
    cases.wake(connection, step.case_id, now + timedelta(seconds=context.pace.settle_grace_s))


def _record(
    context: Context,
    was: Step,
    claimed: Step,
    found: Outcome | NotFound,
    move: Move,
    by: Claim,
    exchanges: list[dict[str, object]],
) -> Report:
    now = context.now()
    outcome = found
    if move is Move.LOOK:
        asked = replace(claimed, state=was.state)  # what it waited for, not that it is being looked at
        outcome = settle_look(found, asked, now, is_natural=act.is_natural(context.platforms, claimed))
    outcome = limit_tries(claimed, outcome, context.pace)
    ending = _ending(context, was, claimed, outcome, move, now)

    def work(connection: Connection) -> bool:
        if ending.state in ENDED:
            _wake(context, connection, claimed, now)  # the case's row first: locks are taken in one order
        if not steps.record(connection, claimed, ending, move, by, now=now, exchanges=exchanges):
            return False
        _book(connection, claimed, outcome, now)
        audit.write(
            connection,
            claimed.case_id,
            f"step.{ending.state.value}",
            now=now,
            actor=by.worker,
            step_key=claimed.step_key,
            outcome=ending.outcome,
            code=ending.code,
            reference=ending.reference,
            amount=str(claimed.amount) if claimed.amount else None,
        )
        if isinstance(outcome, Retryable) and outcome.code == "unauthorised":
            runs.trip(connection, claimed.platform, outcome.reason, now=now, pause_s=context.auth_pause_s)
        return True

    # The vendor has acted or not; whatever it was, it is worth waiting for the database to hear it.
    recorded = context.db.run(work, patience_s=context.pace.lease_s / 2)
    if not recorded:
        return Report(claimed.step_key, claimed.case_id, None, Move.LEAVE)
    return Report(claimed.step_key, claimed.case_id, ending.state, move, _short_wait(context, ending, now))


def _short_wait(context: Context, ending: Ending, now: datetime) -> float | None:
    if ending.not_before is None or ending.code == "unauthorised":
        return None
    wait_s = max(0.0, (ending.not_before - now).total_seconds())
    return wait_s if wait_s <= context.pace.short_s else None


def _ending(
    context: Context, was: Step, step: Step, outcome: Outcome | NotFound, move: Move, now: datetime
) -> Ending:
    state = after(outcome)
    due: datetime | None = None
    not_before: datetime | None = None
    looks = 0
    may = step.may_have_happened
    code = reason = reference = detail = ""
    match outcome:
        case Done(reference=reference, detail=detail) | AlreadyDone(reference=reference, detail=detail):
            may = False
        case Pending(reference=reference):
            may = True
            looks = was.looks + 1 if was.state is StepState.PENDING else 0
        case Retryable(code=code, reason=reason):
            may = False
        case Permanent(code=code, reason=reason):
            may = may if is_uncertain(outcome) else False
        case Unknown(reason=reason) | NotFound(reason=reason):
            may = True
            looks = step.looks + 1 if move is Move.LOOK else 0
    if state not in ENDED:
        wait_s = next_try_s(replace(step, looks=looks), outcome, context.pace, context.jitter())
        not_before = now + timedelta(seconds=wait_s)
        due = not_before + timedelta(
            seconds=0 if wait_s > context.pace.short_s else context.pace.sweep_grace_s
        )
    return Ending(
        state=state,
        outcome=type(outcome).__name__.lower(),
        code=code,
        reason=reason,
        reference=reference,
        detail=detail,
        may_have_happened=may,
        not_before=not_before,
        due_at=due,
        looks=looks,
        key_number=step.key_number,
        look_again_at=next_look_at(step.action, now, now, context.second_looks_h)
        if state is StepState.SUCCEEDED
        else None,
    )


def _book(connection: Connection, step: Step, outcome: Outcome | NotFound, now: datetime) -> None:
    """Money and books move in the same transaction as the outcome."""
    if step.action != "refund" or step.payment_id is None or step.amount is None:
        return
    match outcome:
        case Done() | AlreadyDone():
            if steps.set_reserved(connection, step.step_key, is_reserved=False):
                payments.settle(connection, step.payment_id, step.amount.minor)
            ledger.book_refund(
                connection,
                case_id=step.case_id,
                step_key=step.step_key,
                platform=step.platform,
                amount=step.amount,
                now=now,
                memo=f"refund {outcome.reference}",
            )
        case Permanent() if not is_uncertain(outcome):
            let_go(connection, step)
        case _:
            pass


def _park(context: Context, step: Step, by: Claim, now: datetime) -> Report:
    """The step has outlived too many workers: a person looks. Its money stays reserved, for it may have been sent."""

    def work(connection: Connection) -> bool:
        parked = steps.move(
            connection,
            step,
            StepState.DEAD_LETTERED,
            code="kills_worker",
            reason=f"{step.crashes + 1} workers died while running it; whether the last call went out is not known",
            now=now,
            may_have_happened=True,
        )
        if parked:
            audit.write(
                connection, step.case_id, "step.parked", now=now, actor=by.worker, step_key=step.step_key
            )
            _wake(context, connection, step, now)
        return parked

    context.db.run(work)
    return Report(step.step_key, step.case_id, StepState.DEAD_LETTERED, Move.PARK)


def _park_unconfigured(context: Context, step: Step, now: datetime) -> Report:
    def work(connection: Connection) -> None:
        runs.trip(
            connection,
            step.platform,
            f"steps wait for platform '{step.platform}', which the settings do not configure",
            now=now,
            pause_s=context.auth_pause_s,
        )

    context.db.run(work)
    return Report(step.step_key, step.case_id, step.state, Move.LEAVE)


def _refuse_to_tell(context: Context, step: Step, move: Move, by: Claim, why: str) -> Report:
    """A message that cannot be written, or would not be true: a dead letter, and nothing is sent."""
    now = context.now()

    def work(connection: Connection) -> StepState | None:
        claimed = steps.claim(connection, step, move, by, now=now, lease_s=context.pace.lease_s)
        if claimed is None:
            return None
        refused = Permanent("template", why)
        ending = _ending(context, step, claimed, refused, move, now)
        steps.record(connection, claimed, ending, move, by, now=now, exchanges=())
        audit.write(
            connection, step.case_id, "step.dead_lettered", now=now, actor=by.worker, step_key=step.step_key
        )
        _wake(context, connection, step, now)
        return ending.state

    return Report(step.step_key, step.case_id, context.db.run(work), move)
