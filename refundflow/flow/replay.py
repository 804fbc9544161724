"""Replay: dead steps go again, after their vendor was asked. It refuses to pay twice.

Nothing is replayed blindly: a replayed step first *looks*. What the vendor shows as done is recorded as done and not
sent; only a proven absence sends again, under the same key, or under the next one after the vendor's definite no
(vendors may answer an old key from memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from refundflow.domain.commands import SendMessage
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, Found, NotFound, Pending, Permanent
from refundflow.domain.states import StepState
from refundflow.domain.steps import UNCERTAIN_CODES, Step, StepKind
from refundflow.flow import act
from refundflow.flow.command import command_of
from refundflow.flow.compose import ComposeError
from refundflow.flow.context import Context, Launch, RefusedError, Wave
from refundflow.flow.run_step import let_go
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, dead, payments, steps


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """One line of a replay's plan. `answer`: what the vendor says now, where it was asked; `will`: what executing does;
    `is_refused`: the money moved already, so nothing will be sent.
    """

    step: Step
    answer: str
    will: str
    is_refused: bool


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would do. `money`: the sums that may go out, per currency (minor units)."""

    steps: tuple[ReplayStep, ...]
    money: tuple[Money, ...]


def select(
    context: Context,
    *,
    target: str = "",
    platform: str | None = None,
    kind: str | None = None,
    code: str | None = None,
    limit: int = 200,
) -> list[Step]:
    """The steps that a replay is about: one step, the dead ones of a case, or the dead ones that match a filter.

    Raises RefusedError for a target that does not exist or cannot be replayed.
    """

    def work(connection: Connection) -> list[Step]:
        if "." in target:
            step = steps.load(connection, target)
            if step is None:
                raise RefusedError(
                    f"no step {target}; `refundflow case show {target.split('.')[0]}` lists the case's steps"
                )
            if step.state is not StepState.DEAD_LETTERED:
                raise RefusedError(f"{target} is {step.state.value}, not dead: nothing to replay")
            return [step]
        if target and cases.load(connection, target) is None:
            raise RefusedError(f"no case {target}; `refundflow case list` shows what there is")
        found = dead.dead_steps(
            connection, case_id=target or None, platform=platform, kind=kind, code=code, limit=limit
        )
        loaded = [steps.load(connection, r["step_key"]) for r in reversed(found)]
        return [s for s in loaded if s is not None]

    return context.db.run(work)


def preview(context: Context, chosen: Sequence[Step]) -> ReplayPlan:
    """Asks the vendors about every money step (reads only), and says what executing would do."""
    lines = []
    out: dict[str, int] = {}
    for step in chosen:
        line = _preview_one(context, step)
        lines.append(line)
        if step.kind is StepKind.REFUND and step.amount is not None and not line.is_refused:
            out[step.amount.currency] = out.get(step.amount.currency, 0) + step.amount.minor
    lines.sort(key=lambda line: line.step.kind is not StepKind.REFUND)
    return ReplayPlan(tuple(lines), tuple(Money(minor, currency) for currency, minor in sorted(out.items())))


def _preview_one(context: Context, step: Step) -> ReplayStep:
    if step.kind is StepKind.HUMAN_TASK:
        return ReplayStep(step, "", "nothing: a person does this; resolve it with its proof", True)
    if not act.is_configured(context.platforms, step):
        return ReplayStep(step, "", f"nothing: platform '{step.platform}' is not configured", True)
    if step.kind is not StepKind.REFUND:
        return ReplayStep(step, "", "ask the vendor, then send if it is not there", False)
    found = ask(context, step)
    answer = act.describe(found)
    match found:
        case Done() | AlreadyDone():
            return ReplayStep(
                step, answer, "refused: the money moved already; executing records it as done", True
            )
        case Pending():
            return ReplayStep(
                step, answer, "refused: the money is on its way; executing records it as pending", True
            )
        case NotFound(conclusive_after_s=None):
            return ReplayStep(step, answer, "refused: this vendor cannot be asked", True)
        case NotFound():
            return ReplayStep(step, answer, f"send {step.amount}", False)
        case Permanent():
            return ReplayStep(step, answer, f"send {step.amount} as a new intention (next key)", False)
        case _:
            return ReplayStep(
                step, answer, "ask again until the vendor answers; nothing is sent before", False
            )


def ask(context: Context, step: Step) -> Found:
    """What the step's vendor says happened. A read; nothing is written."""
    if not act.is_configured(context.platforms, step) or step.kind is StepKind.HUMAN_TASK:
        raise RefusedError(
            f"platform '{step.platform}' cannot be asked about {step.step_key}: it is not configured"
        )
    try:
        return act.look(context.platforms, step, command_of(context, step))
    except ComposeError as error:
        raise RefusedError(f"{step.step_key}: {error}") from error


def execute(context: Context, plan: ReplayPlan, *, operator: str, reason: str) -> list[Wave]:
    """Sends the plan's steps on their way: each looks first. Returns what to launch."""
    waves = []
    for line in plan.steps:
        if line.step.kind is StepKind.HUMAN_TASK or "not configured" in line.will:
            continue
        wave = context.db.run(partial(_revive, context, line.step, operator, reason))
        if wave is not None:
            waves.append(wave)
    return waves


def _revive(context: Context, was: Step, operator: str, reason: str, connection: Connection) -> Wave | None:
    now = context.now()
    case = cases.load(connection, was.case_id, lock=True)
    step = steps.load(connection, was.step_key, lock=True)
    if case is None or step is None or step.state is not StepState.DEAD_LETTERED:
        return None
    _reserve_again(connection, step)
    definite_no = step.code not in UNCERTAIN_CODES and not step.code.startswith("gave_up") and bool(step.code)
    is_said_once = isinstance(step.command, SendMessage) and step.code == "unknowable"
    moved = steps.move(
        connection,
        step,
        # An unanswerable message is a person's decision to repeat; everything else looks first.
        StepState.RETRY_SCHEDULED if is_said_once or _never_sent(step) else StepState.UNKNOWN,
        code="replayed",
        reason=f"{operator}: {reason}",
        now=now,
        due_at=now + timedelta(seconds=context.relaunch_s),
        key_number=step.key_number + 1 if definite_no else None,
        may_have_happened=not (is_said_once or _never_sent(step)),
    )
    if not moved:
        return None
    audit.write(
        connection,
        case.case_id,
        "step.replayed",
        now=now,
        actor=operator,
        step_key=step.step_key,
        reason=reason,
        was=step.code,
    )
    settle_locked(context, connection, case, steps.of_case(connection, case.case_id), now=now)
    return Wave(case.case_id, (Launch(step.step_key, step.kind),))


def _reserve_again(connection: Connection, step: Step) -> None:
    """A dead refund whose reservation was given back needs it again. Raises RefusedError where the money is not there."""
    if step.action != "refund" or step.payment_id is None or step.amount is None:
        return
    if not steps.set_reserved(connection, step.step_key, is_reserved=True):
        return
    if not payments.reserve(connection, step.payment_id, step.amount.minor):
        raise RefusedError(
            f"{step.step_key}: payment {step.payment_id} cannot give back {step.amount} any more (refunded or reserved "
            "otherwise, or disputed); nothing was changed"
        )


def _never_sent(step: Step) -> bool:
    """Whether no call of this step ever went out (its message could not be written, its money not be reserved)."""
    return step.sent_at is None and not step.may_have_happened


def discard(context: Context, step_key: str, *, operator: str, reason: str) -> Wave:
    """A person decides that a dead step will never run: it is skipped, what needed it is skipped too, and reserved
    money is given back unless the call may have gone out after all. Raises RefusedError.
    """

    def work(connection: Connection) -> Wave:
        now = context.now()
        step = steps.load(connection, step_key)
        if step is None:
            raise RefusedError(f"no step {step_key}")
        case = cases.load(connection, step.case_id, lock=True)
        assert case is not None
        step = steps.load(connection, step_key, lock=True)
        assert step is not None
        if step.state is not StepState.DEAD_LETTERED:
            raise RefusedError(f"{step_key} is {step.state.value}, not dead: nothing to discard")
        if step.kind is StepKind.REFUND and step.may_have_happened:
            raise RefusedError(
                f"{step_key} may have paid: replay asks the payer and settles it either way; it cannot be discarded unasked"
            )
        let_go(connection, step)
        steps.move(
            connection, step, StepState.SKIPPED, code="discarded", reason=f"{operator}: {reason}", now=now
        )
        audit.write(
            connection,
            case.case_id,
            "step.discarded",
            now=now,
            actor=operator,
            step_key=step_key,
            reason=reason,
        )
        return settle_locked(context, connection, case, steps.of_case(connection, case.case_id), now=now)

    return context.db.run(work)
