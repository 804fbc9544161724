"""The tasks: intake, one per step kind, settle, sweep, poll, look again. Thin: each calls one move of `flow/` and launches what it returns.

A task that recorded an outcome has succeeded as a task, whatever the outcome; it raises for bugs only. A step task that
raised would fail its chord's body though its siblings ran. Messages carry ids, never objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from celery import Task

from refundflow import wiring
from refundflow.domain.ids import EventId, StepKey
from refundflow.domain.steps import StepKind
from refundflow.flow import poll, receive, run_step, second_look, settle, sweep
from refundflow.flow.context import Runner, Wave
from refundflow.observe import STEP_RUNS, STEP_SECONDS, SWEPT, logger
from refundflow.store import dead
from refundflow.store.db import DatabaseAwayError
from refundflow.tasks import poison
from refundflow.tasks.app import app, worker_name
from refundflow.tasks.launch import STEP_TASK, launch, launch_intake, launch_look, launch_poll, launch_settle

log = logger(__name__)
_DATABASE_PAUSE_S: Final = 3.0
_DRAIN: Final = 50


@app.task(name="refundflow.intake", bind=True, max_retries=None, ignore_result=True)
def intake(self: Task[Any, Any], event_id: int) -> str:
    """Handles one event of the inbox."""
    try:
        received = receive.receive(wiring.house().context, EventId(event_id), _runner(self))
    except DatabaseAwayError as error:
        raise self.retry(countdown=_DATABASE_PAUSE_S, exc=None) from error
    log.info("event.received", event_id=event_id, outcome=received.outcome, case_id=received.case_id)
    if received.wave is not None:
        launch(received.wave)
    if received.retry_in_s is not None:
        raise self.retry(countdown=received.retry_in_s)
    return received.outcome


def _step_task(kind: StepKind) -> Callable[..., str]:
    """One task name and queue per step kind, so that Flower and routing speak the domain."""

    def run(self: Task[Any, Any], step_key: str) -> str:
        try:
            with STEP_SECONDS.labels(kind.value, "").time():
                report = run_step.run_step(wiring.house().context, StepKey(step_key), _runner(self))
        except DatabaseAwayError as error:
            raise self.retry(countdown=_DATABASE_PAUSE_S, exc=None) from error
        state = report.state.value if report.state else "gone"
        STEP_RUNS.labels(kind.value, "", state).inc()
        log.info("step.ran", step_key=step_key, case_id=report.case_id, move=report.move.value, state=state)
        if report.retry_in_s is not None:
            raise self.retry(countdown=report.retry_in_s)
        return state

    run.__name__ = kind.value
    run.__doc__ = f"Carries one {kind.value} step a bit further."
    registered: Callable[..., str] = app.task(name=STEP_TASK.format(kind.value), bind=True, max_retries=None)(
        run
    )
    return registered


STEP_TASKS: Final = {kind: _step_task(kind) for kind in StepKind if kind is not StepKind.HUMAN_TASK}


@app.task(name="refundflow.settle", bind=True, max_retries=None, ignore_result=True)
def settle_case(self: Task[Any, Any], case_id: str) -> int:
    """Computes a case's next wave from its rows, and launches it."""
    try:
        wave = settle.settle(wiring.house().context, case_id, _runner(self))
    except DatabaseAwayError as error:
        raise self.retry(countdown=_DATABASE_PAUSE_S, exc=None) from error
    launch(wave)
    return len(wave.steps)


@app.task(name="refundflow.sweep", ignore_result=True)
def sweep_due() -> int:
    """Launches whatever is due, and keeps dead messages as rows. What it cannot do now, the next sweep does."""
    context = wiring.house().context
    overdue = sweep.sweep(context)
    for event_id in overdue.events:
        launch_intake(event_id)
    for case_id in overdue.cases:
        launch_settle(case_id)
    for case_id, step in overdue.steps:
        launch(Wave(case_id, (step,)))
    for platform in overdue.polls:
        launch_poll(platform)
    for step_key in overdue.looks:
        launch_look(step_key)
    for what, found in (
        ("events", overdue.events),
        ("cases", overdue.cases),
        ("steps", overdue.steps),
        ("polls", overdue.polls),
        ("looks", overdue.looks),
    ):
        SWEPT.labels(what).inc(len(found))
    kept = poison.drain_dead(app, _keep_dead, _DRAIN)
    if overdue.count or kept:
        log.info(
            "sweep.launched",
            events=len(overdue.events),
            cases=len(overdue.cases),
            steps=len(overdue.steps),
            polls=len(overdue.polls),
            looks=len(overdue.looks),
            dead_messages=kept,
        )
    return overdue.count


@app.task(name="refundflow.poll", ignore_result=True)
def poll_platform(platform: str) -> int:
    """Looks at a platform for what its webhooks did not bring. What fails is due again in its row."""
    context = wiring.house().context
    looked = poll.poll(context, platform)
    while looked.has_more:
        _launch_all(looked)
        looked = poll.poll(context, platform)
    _launch_all(looked)
    log.info("poll.looked", platform=platform, new=len(looked.new), problem=looked.problem)
    return len(looked.new)


@app.task(name="refundflow.look_again", bind=True, max_retries=None, ignore_result=True)
def look_again(self: Task[Any, Any], step_key: str) -> str:
    """Asks a vendor whether what it did still stands. What fails is due again in its row."""
    try:
        wave = second_look.look_again(wiring.house().context, StepKey(step_key), _runner(self))
    except DatabaseAwayError as error:
        raise self.retry(countdown=_DATABASE_PAUSE_S, exc=None) from error
    log.info("step.looked_again", step_key=step_key, news=wave is not None)
    if wave is not None:
        launch(wave)
    return "news" if wave is not None else "as it was"


def _launch_all(looked: poll.Looked) -> None:
    for event_id in looked.new:
        launch_intake(event_id)


def _keep_dead(message: poison.DeadMessage) -> None:
    wiring.house().db.run(
        lambda connection: dead.keep_message(
            connection,
            message_id=message.message_id,
            reason=message.reason,
            queue=message.queue,
            headers=dict(message.headers),
            body=message.body,
            content_type=message.content_type,
            died_at=message.died_at,
        )
    )


def _runner(task: Task[Any, Any]) -> Runner:
    return Runner(task_id=task.request.id or "", worker=worker_name(task.request))
