"""Carries launches out in this process, without Celery, on a clock that the test turns.

What a worker does is a run and a settle for every launch; what beat does is a sweep. Waits are jumps of the clock, so
a night of retries passes in milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from refundflow.domain.ids import StepKey
from refundflow.flow.context import Context, Launch, Runner, Wave
from refundflow.flow.receive import receive
from refundflow.flow.run_step import Report, run_step
from refundflow.flow.second_look import look_again
from refundflow.flow.settle import settle
from refundflow.flow.sweep import sweep
from refundflow.store.db import row

T = TypeVar("T")
RUNNER = Runner(task_id="drive", worker="test@here/1")
_MANY = 400


@dataclass
class Clock:
    """Aware UTC, standing still until it is turned."""

    at: datetime

    @classmethod
    def from_now(cls) -> Clock:
        """Starts at the real time: the practice vendors live by that one."""
        return cls(datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.at

    def jump(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class NeverQuietError(AssertionError):
    """So many launches that something must be going round in circles."""


def drive(context: Context, wave: Wave | None, *, within_s: float = 300.0) -> list[Report]:
    """Runs a wave and everything that follows from it, jumping to whatever is due in the next `within_s` seconds.

    `context.now` must be a `Clock`. Returns every run's report in order. Raises NeverQuietError.
    """
    clock = context.now
    assert isinstance(clock, Clock), "time must be the test's own"
    end = clock.at + timedelta(seconds=within_s)
    work = _Work(context, clock, list(wave.steps) if wave else [])
    work.run()
    while True:
        due = next_due(context)
        soonest = min((at for at in (due, *(at for at, _ in work.retries)) if at is not None), default=None)
        if soonest is None or soonest > end:
            return work.reports
        clock.jump(max(0.0, (soonest - clock.at).total_seconds()))
        work.take_retries()
        if due is not None and due <= clock.at:
            work.sweep()
        if len(work.reports) > _MANY:
            raise NeverQuietError(f"{len(work.reports)} runs: {work.reports[-5:]}")


@dataclass
class _Work:
    """What is launched and not run yet. `retries`: short waits, which Celery would hold."""

    context: Context
    clock: Clock
    launches: list[Launch]
    retries: list[tuple[datetime, Launch]] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def run(self) -> None:
        while self.launches:
            launch = self.launches.pop(0)
            report = run(self.context, launch.step_key)
            self.reports.append(report)
            if report.retry_in_s is not None:
                self.retries.append((self.clock.at + timedelta(seconds=report.retry_in_s), launch))
            elif report.case_id is not None:
                self.launches += settle(self.context, report.case_id, RUNNER).steps

    def take_retries(self) -> None:
        ready = [launch for at, launch in self.retries if at <= self.clock.at]
        self.retries = [(at, launch) for at, launch in self.retries if at > self.clock.at]
        self.launches += ready
        self.run()

    def sweep(self) -> None:
        overdue = sweep(self.context)
        for event_id in overdue.events:
            wave = receive(self.context, event_id, RUNNER).wave
            self.launches += wave.steps if wave else ()
        for case_id in overdue.cases:
            self.launches += settle(self.context, case_id, RUNNER).steps
        self.launches += [launch for _, launch in overdue.steps]
        for step_key in overdue.looks:
            wave = look_again(self.context, step_key, RUNNER)
            self.launches += wave.steps if wave else ()
        self.run()


def run(context: Context, step_key: str) -> Report:
    """One run of one step, as one message for it would cause."""
    return run_step(context, StepKey(step_key), RUNNER)


def next_due(context: Context) -> datetime | None:
    """The next time at which the sweep has anything to do; a platform that refuses our credentials is left alone first."""
    found = context.db.run(
        lambda connection: row(
            connection,
            "SELECT min(due_at) AS at FROM (SELECT due_at FROM events UNION ALL SELECT due_at FROM cases"
            " UNION ALL SELECT look_again_at FROM steps"
            " UNION ALL SELECT GREATEST(s.due_at, h.paused_until) FROM steps s LEFT JOIN connector_health h"
            " ON h.platform = s.platform WHERE s.due_at IS NOT NULL) AS due",
        )
    )
    assert found is not None
    at: datetime | None = found["at"]
    return at


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Runs `work(0)` … `work(count - 1)` in threads that start together; returns what they gave, in that order."""
    gate = threading.Barrier(count)

    def start(number: int) -> T:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))
