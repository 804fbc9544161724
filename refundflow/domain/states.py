"""States of steps and cases, and which moves between them exist. The database holds the same tables as CHECKs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, assert_never

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


class StepState(StrEnum):
    PLANNED = "planned"
    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    RETRY_SCHEDULED = "retry_scheduled"
    UNKNOWN = "unknown"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"
    REVERSED = "reversed"


S = StepState

#: From a state to the states it may become. Unknown is left by looking only, never by a timer.
STEP_MOVES: Final[Mapping[StepState, frozenset[StepState]]] = {
    S.PLANNED: frozenset({S.IN_FLIGHT, S.SKIPPED, S.DEAD_LETTERED}),
    S.IN_FLIGHT: frozenset(
        {S.IN_FLIGHT, S.SUCCEEDED, S.PENDING, S.RETRY_SCHEDULED, S.UNKNOWN, S.DEAD_LETTERED, S.SKIPPED}
    ),
    S.RETRY_SCHEDULED: frozenset({S.IN_FLIGHT, S.DEAD_LETTERED, S.SKIPPED}),
    S.PENDING: frozenset({S.PENDING, S.SUCCEEDED, S.RETRY_SCHEDULED, S.UNKNOWN, S.DEAD_LETTERED}),
    S.UNKNOWN: frozenset({S.UNKNOWN, S.SUCCEEDED, S.PENDING, S.RETRY_SCHEDULED, S.DEAD_LETTERED}),
    S.DEAD_LETTERED: frozenset({S.RETRY_SCHEDULED, S.UNKNOWN, S.SUCCEEDED, S.SKIPPED}),
    S.SUCCEEDED: frozenset({S.REVERSED}),
    S.SKIPPED: frozenset(),
    S.REVERSED: frozenset(),
}

#: Nothing more will happen to the step by itself, and nobody is asked to do anything.
TERMINAL: Final = frozenset({S.SUCCEEDED, S.SKIPPED, S.REVERSED})
#: Whoever waits for the step to *end*, in whatever way, need not wait longer.
ENDED: Final = TERMINAL | {S.DEAD_LETTERED}
#: The sweep launches these again when they are due.
LIVE: Final = frozenset({S.PLANNED, S.IN_FLIGHT, S.RETRY_SCHEDULED, S.PENDING, S.UNKNOWN})


def after(outcome: Outcome | NotFound) -> StepState:
    """The state of a step after a try or a look came to `outcome`.

    NotFound here is an absence that proves nothing *yet*; a conclusive one is turned into Retryable before.
    """
    match outcome:
        case Done() | AlreadyDone():
            return S.SUCCEEDED
        case Pending():
            return S.PENDING
        case Retryable():
            return S.RETRY_SCHEDULED
        case Permanent():
            return S.DEAD_LETTERED
        case Unknown() | NotFound():
            return S.UNKNOWN
        case _:
            assert_never(outcome)


class CaseState(StrEnum):
    """RUNNING: steps on their way. HELD: a person must approve. ATTENTION: a dead letter, a human task or an unknown
    that will not clear. The last three are closed: a new event about the order opens another case.
    """

    RUNNING = "running"
    HELD = "held"
    ATTENTION = "attention"
    COMPLETE = "complete"
    DECLINED = "declined"
    NOTHING_TO_DO = "nothing_to_do"


C = CaseState
OPEN_CASES: Final = frozenset({C.RUNNING, C.HELD, C.ATTENTION})
CASE_MOVES: Final[Mapping[CaseState, frozenset[CaseState]]] = {
    C.RUNNING: frozenset({C.HELD, C.ATTENTION, C.COMPLETE, C.NOTHING_TO_DO, C.DECLINED}),
    C.HELD: frozenset({C.RUNNING, C.DECLINED, C.ATTENTION, C.NOTHING_TO_DO}),
    C.ATTENTION: frozenset({C.RUNNING, C.COMPLETE, C.HELD, C.DECLINED, C.NOTHING_TO_DO}),
    C.COMPLETE: frozenset({C.ATTENTION, C.RUNNING, C.HELD}),
    C.DECLINED: frozenset(),
    C.NOTHING_TO_DO: frozenset(),
}


def case_after(states: Iterable[StepState], *, has_stuck_unknown: bool) -> CaseState:
    """What the states of all steps of an approved case make of the case."""
    states = tuple(states)
    if any(state is S.DEAD_LETTERED for state in states) or has_stuck_unknown:
        return C.ATTENTION
    if all(state in TERMINAL for state in states):
        return C.COMPLETE
    return C.RUNNING
