"""States: the tables are closed, everything is reachable, outcomes lead only where the table allows, and SQL agrees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refundflow
from refundflow.domain.facts import DisputeState
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.domain.states import (
    CASE_MOVES,
    ENDED,
    LIVE,
    OPEN_CASES,
    STEP_MOVES,
    TERMINAL,
    CaseState,
    StepState,
    after,
    case_after,
)
from refundflow.domain.steps import StepKind

S = StepState
C = CaseState
TABLES: list[tuple[type[StrEnum], Mapping[Any, frozenset[Any]], StrEnum]] = [
    (StepState, STEP_MOVES, S.PLANNED),
    (CaseState, CASE_MOVES, C.RUNNING),
]
OUTCOMES: list[tuple[Outcome | NotFound, StepState]] = [
    (Done("re_1"), S.SUCCEEDED),
    (AlreadyDone(), S.SUCCEEDED),
    (Pending("re_1"), S.PENDING),
    (Retryable("throttled", "slow down"), S.RETRY_SCHEDULED),
    (Permanent("no", "never"), S.DEAD_LETTERED),
    (Unknown("no answer"), S.UNKNOWN),
    (NotFound(), S.UNKNOWN),
]


@pytest.mark.parametrize(("enum", "moves", "start"), TABLES)
def test_every_state_has_a_row_and_every_target_is_known(enum: Any, moves: Any, start: Any) -> None:
    assert set(moves) == set(enum)
    assert {target for targets in moves.values() for target in targets} <= set(enum)
    assert start in moves


@pytest.mark.parametrize(("enum", "moves", "start"), TABLES)
def test_every_state_can_be_reached_from_the_first(enum: Any, moves: Any, start: Any) -> None:
    reached, edge = {start}, {start}
    while edge:
        edge = {target for state in edge for target in moves[state]} - reached
        reached |= edge
    assert reached == set(enum)


@pytest.mark.parametrize(("outcome", "state"), OUTCOMES)
def test_an_outcome_leads_to_its_state(outcome: Outcome | NotFound, state: StepState) -> None:
    assert after(outcome) is state


def test_every_kind_of_outcome_is_in_the_table_above() -> None:
    assert {type(outcome) for outcome, _ in OUTCOMES} == set(get_args(Found))


@pytest.mark.parametrize("state", [S.IN_FLIGHT, S.PENDING, S.UNKNOWN])
def test_whatever_a_try_or_a_look_comes_to_is_a_move_that_exists(state: StepState) -> None:
    assert {after(outcome) for outcome, _ in OUTCOMES} - {state} <= STEP_MOVES[state]


def test_what_may_have_happened_is_never_sent_again_without_a_look() -> None:
    assert S.IN_FLIGHT not in STEP_MOVES[S.PENDING]
    assert S.IN_FLIGHT not in STEP_MOVES[S.UNKNOWN]
    assert S.IN_FLIGHT not in STEP_MOVES[S.DEAD_LETTERED]


def test_success_is_left_only_by_the_vendors_late_word() -> None:
    assert STEP_MOVES[S.SUCCEEDED] == {S.REVERSED}
    assert [state for state, targets in STEP_MOVES.items() if S.REVERSED in targets] == [S.SUCCEEDED]


def test_every_state_is_either_live_or_ended() -> None:
    assert set(StepState) == LIVE | ENDED
    assert frozenset() == LIVE & ENDED
    assert {S.DEAD_LETTERED} == ENDED - TERMINAL


@pytest.mark.parametrize("state", [C.DECLINED, C.NOTHING_TO_DO])
def test_a_refused_case_stays_refused(state: CaseState) -> None:
    assert CASE_MOVES[state] == frozenset()
    assert state not in OPEN_CASES


@pytest.mark.parametrize(
    ("_case", "states", "is_stuck", "expected"),
    [
        ("all done", [S.SUCCEEDED, S.SUCCEEDED], False, C.COMPLETE),
        ("done or skipped", [S.SUCCEEDED, S.SKIPPED], False, C.COMPLETE),
        ("a refund came back", [S.SUCCEEDED, S.REVERSED], False, C.COMPLETE),
        ("no steps", [], False, C.COMPLETE),
        ("one planned", [S.SUCCEEDED, S.PLANNED], False, C.RUNNING),
        ("one pending", [S.SUCCEEDED, S.PENDING], False, C.RUNNING),
        ("one unknown", [S.SUCCEEDED, S.UNKNOWN], False, C.RUNNING),
        ("one unknown that does not clear", [S.SUCCEEDED, S.UNKNOWN], True, C.ATTENTION),
        ("one dead", [S.SUCCEEDED, S.DEAD_LETTERED], False, C.ATTENTION),
        ("one dead, others on their way", [S.IN_FLIGHT, S.DEAD_LETTERED], False, C.ATTENTION),
    ],
)
def test_what_the_steps_make_of_the_case(
    _case: str, states: list[StepState], is_stuck: bool, expected: CaseState
) -> None:
    assert case_after(states, has_stuck_unknown=is_stuck) is expected


@given(st.lists(st.sampled_from(StepState)), st.booleans())
def test_a_case_is_complete_only_when_nothing_is_left_to_do(states: list[StepState], is_stuck: bool) -> None:
    made = case_after(iter(states), has_stuck_unknown=is_stuck)
    assert made in (C.RUNNING, C.ATTENTION, C.COMPLETE)
    assert (made is C.COMPLETE) is (set(states) <= TERMINAL and not is_stuck)
    assert (made is C.ATTENTION) is (S.DEAD_LETTERED in states or is_stuck)


# ------------------------------------------------------------------------------------------------ the database agrees

SQL = (Path(refundflow.__file__).parent / "store/migrations/versions/0001_spine.sql").read_text()


def table(name: str) -> str:
    found = re.search(rf"^CREATE TABLE {name} \((.*?)^\);", SQL, re.DOTALL | re.MULTILINE)
    assert found, f"no table {name}"
    return found.group(1)


def listed(text: str, pattern: str) -> set[str]:
    """The quoted words of the first list after `pattern`."""
    found = re.search(pattern + r"\s*\(([^)]*)\)", text)
    assert found, pattern
    return set(re.findall(r"'([^']*)'", found.group(1)))


@pytest.mark.parametrize(
    ("_case", "name", "column", "enum"),
    [
        ("states of a step", "steps", "state", StepState),
        ("kinds of step", "steps", "kind", StepKind),
        ("states of a case", "cases", "state", CaseState),
        ("disputes", "payments", "dispute", DisputeState),
    ],
)
def test_the_database_lists_the_same_words(_case: str, name: str, column: str, enum: type[StrEnum]) -> None:
    check = rf"(?m)^\s*{column}\s+text NOT NULL[^,]* CHECK \({column} IN"
    assert listed(table(name), check) == {member.value for member in enum}


def test_the_database_closes_the_same_cases() -> None:
    closed = listed(table("cases"), r"CHECK \(\(state IN")
    assert closed == {state.value for state in set(CaseState) - OPEN_CASES}


def test_the_database_sweeps_what_is_live_and_nothing_that_ended() -> None:
    swept = listed(table("steps"), r"state NOT IN(?=[^)]*'pending')")
    quiet = listed(table("steps"), r"state NOT IN(?=[^)]*'skipped')")
    assert swept == {state.value for state in LIVE - {S.PLANNED}}
    assert quiet == {state.value for state in ENDED}


def test_only_a_refund_in_flight_takes_the_payments_one_place_on_the_wire() -> None:
    assert f"WHERE kind = '{StepKind.REFUND}' AND state = '{S.IN_FLIGHT}';" in SQL
