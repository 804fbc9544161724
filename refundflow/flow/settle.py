"""Settle: what the rows of a case say should happen next. Idempotent; whichever step ends last calls it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from refundflow.domain.ids import CaseId, StepKey
from refundflow.domain.plan import is_report, tell_staff
from refundflow.domain.states import ENDED, OPEN_CASES, TERMINAL, CaseState, StepState, case_after
from refundflow.domain.steps import Step, StepKind
from refundflow.flow.context import Context, Launch, Runner, Wave
from refundflow.store import audit, cases, runs, steps
from refundflow.store.cases import Case

_STUCK_LOOKS = 5
_REOPEN_S = 3600.0


def settle(context: Context, case_id: str, runner: Runner) -> Wave:
    """Releases the steps whose needs are met, skips those that can never run, and moves the case. One transaction."""
    started = context.now()

    def work(connection: Connection) -> Wave:
        case = cases.load(connection, case_id, lock=True)
        if case is None:
            return Wave(CaseId(case_id))
        wave = settle_locked(context, connection, case, steps.of_case(connection, case_id), now=context.now())
        runs.keep_run(
            connection,
            task_id=runner.task_id,
            name="refundflow.settle",
            subject=case_id,
            case_id=case_id,
            worker=runner.worker,
            started_at=started,
            ended_at=context.now(),
            outcome=f"launched {len(wave.steps)}",
        )
        return wave

    return context.db.run(work)


def settle_locked(
    context: Context, connection: Connection, case: Case, all_steps: Sequence[Step], *, now: datetime
) -> Wave:
    """As `settle`, in the caller's transaction, which holds the case's lock."""
    states = {s.step_key: s.state for s in all_steps}
    for step in _never_to_run(all_steps, states):
        steps.move(
            connection,
            step,
            StepState.SKIPPED,
            code="need_skipped",
            reason="what it needed did not happen",
            now=now,
        )
        states[step.step_key] = StepState.SKIPPED
        audit.write(connection, case.case_id, "step.skipped", now=now, actor="settle", step_key=step.step_key)
    ready = ready_steps(all_steps, states)
    launches = []
    for step in ready:
        if step.kind is StepKind.HUMAN_TASK:
            text = getattr(step.command, "text", "")
            steps.move(connection, step, StepState.DEAD_LETTERED, code="human_task", reason=text, now=now)
            states[step.step_key] = StepState.DEAD_LETTERED
            audit.write(
                connection, case.case_id, "step.human_task", now=now, actor="settle", step_key=step.step_key
            )
        else:
            launches.append(Launch(step.step_key, step.kind))
    steps.release(
        connection, [x.step_key for x in launches], due_at=now + timedelta(seconds=context.relaunch_s)
    )
    if not launches and (told := _tell_that_it_is_mended(context, connection, case, all_steps, states, now)):
        launches += told
        all_steps = [
            *all_steps,
            *(s for s in steps.of_case(connection, case.case_id) if s.step_key not in states),
        ]
        states |= {launch.step_key: StepState.PLANNED for launch in told}
    _move_case(connection, case, all_steps, states, now)
    return Wave(case.case_id, tuple(launches))


def _tell_that_it_is_mended(
    context: Context,
    connection: Connection,
    case: Case,
    all_steps: Sequence[Step],
    states: dict[StepKey, StepState],
    now: datetime,
) -> list[Launch]:
    """A case that waited for a person and waits no longer: the desk, the logs and the staff channel are shown so, once.

    Whoever took a report away (a log that is not used any more) is not given another one.
    """
    reports = [s for s in all_steps if is_report(s)]
    if (
        case.state is not CaseState.ATTENTION
        or not reports
        or any(states[s.step_key] not in TERMINAL for s in all_steps)
    ):
        return []
    if states[reports[-1].step_key] is StepState.SKIPPED:
        return []
    planned = tell_staff(case.case_id, context.routing_of(case.platform), all_steps)
    steps.insert(connection, planned, first_number=len(all_steps), now=now)
    due_at = now + timedelta(seconds=context.relaunch_s)
    steps.release(connection, [s.step_key for s in planned], due_at=due_at)
    return [Launch(s.step_key, s.kind) for s in planned]


def ready_steps(all_steps: Sequence[Step], states: dict[StepKey, StepState]) -> list[Step]:
    """Planned steps that may run now: all they need succeeded, all they follow has ended or is stuck behind a dead one."""
    blocked = _blocked(all_steps, states)
    return [
        s
        for s in all_steps
        if states[s.step_key] is StepState.PLANNED
        and s.due_at is None
        and all(states.get(key) is StepState.SUCCEEDED for key in s.needs)
        and all(states.get(key) in ENDED or key in blocked for key in s.follows)
    ]


def _blocked(all_steps: Sequence[Step], states: dict[StepKey, StepState]) -> set[StepKey]:
    """Planned steps that wait for a dead letter, directly or through others."""
    blocked: set[StepKey] = set()
    for step in all_steps:  # in the order of the plan: a step comes after what it needs
        if states[step.step_key] is StepState.PLANNED and any(
            states.get(key) is StepState.DEAD_LETTERED or key in blocked for key in step.needs
        ):
            blocked.add(step.step_key)
    return blocked


def _never_to_run(all_steps: Sequence[Step], states: dict[StepKey, StepState]) -> list[Step]:
    """Planned steps, one of whose needs was skipped or reversed: they never can run."""
    gone: list[Step] = []
    lost = {key for key, state in states.items() if state in (StepState.SKIPPED, StepState.REVERSED)}
    for step in all_steps:
        if (
            states[step.step_key] is StepState.PLANNED
            and step.due_at is None
            and any(key in lost for key in step.needs)
        ):
            lost.add(step.step_key)
            gone.append(step)
    return gone


def _move_case(
    connection: Connection,
    case: Case,
    all_steps: Sequence[Step],
    states: dict[StepKey, StepState],
    now: datetime,
) -> None:
    if case.state not in (CaseState.RUNNING, CaseState.ATTENTION, CaseState.COMPLETE) or not all_steps:
        cases.wake(connection, case.case_id, None)
        return
    stuck = any(states[s.step_key] is StepState.UNKNOWN and s.looks >= _STUCK_LOOKS for s in all_steps)
    state = case_after(states.values(), has_stuck_unknown=stuck)
    if case.state is CaseState.COMPLETE and state is CaseState.COMPLETE:
        cases.wake(connection, case.case_id, None)
        return
    if not case.is_open and state in OPEN_CASES and cases.other_open(connection, case):
        # An order has one open case. What is to be done here is in sight as a dead letter, and the case opens when the other closes.
        cases.wake(connection, case.case_id, now + timedelta(seconds=_REOPEN_S))
        return
    dead = [s for s in all_steps if states[s.step_key] is StepState.DEAD_LETTERED]
    why = {
        CaseState.ATTENTION: "; ".join(f"{s.step_key}: {s.code or 'human_task'}" for s in dead)
        or "a step's outcome stays unknown",
        CaseState.COMPLETE: "every step has ended",
    }.get(state, "steps are on their way")
    if cases.move(connection, case, state, why=why, now=now):
        audit.write(
            connection, case.case_id, f"case.{state.value}", now=now, actor="settle", was=case.state.value
        )
