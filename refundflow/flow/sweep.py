"""The sweep: launches whatever is due. The guarantee behind every message: losing all of them loses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from refundflow.domain.ids import CaseId, EventId, StepKey
from refundflow.flow.context import Context, Launch
from refundflow.store import cases, inbox, polls, steps


@dataclass(frozen=True, slots=True)
class Overdue:
    """What should be launched now."""

    events: tuple[EventId, ...]
    cases: tuple[CaseId, ...]
    steps: tuple[tuple[CaseId, Launch], ...]
    polls: tuple[str, ...] = ()
    looks: tuple[StepKey, ...] = ()

    @property
    def count(self) -> int:
        return len(self.events) + len(self.cases) + len(self.steps) + len(self.polls) + len(self.looks)


def sweep(context: Context, *, limit: int = 200) -> Overdue:
    """Takes what is due: events nobody handled, waves nobody settled, retries, look-ups, expired leases and second looks.

    Each is due again after `relaunch_s`, so a sweep that dies after its commit delays and loses nothing; rows that
    another sweep holds are skipped. Four statements, each on a partial index of what is due, and two more where platforms
    are polled.
    """
    polled = tuple(context.platforms.pollers)

    def work(connection: Connection) -> Overdue:
        now = context.now()
        again = now + timedelta(seconds=context.relaunch_s)
        if polled:
            polls.begin(connection, polled, now=now)
        return Overdue(
            events=tuple(inbox.take_due(connection, now=now, again_s=context.relaunch_s, limit=limit)),
            cases=tuple(cases.take_due(connection, now=now, again=again, limit=limit)),
            steps=tuple(
                (d.case_id, Launch(d.step_key, d.kind))
                for d in steps.take_due(connection, now=now, again=again, limit=limit)
            ),
            polls=tuple(polls.take_due(connection, polled, now=now, again=again)) if polled else (),
            looks=tuple(steps.take_looks(connection, now=now, again=again, limit=limit)),
        )

    return context.db.run(work)
