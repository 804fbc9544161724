"""Steps: what a worker does with one now, what a look proves, when to come again, and when a person is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from refundflow.domain.states import StepState, after
from refundflow.domain.steps import (
    QUEUE_OF,
    UNCERTAIN_CODES,
    Move,
    Pace,
    Queue,
    Step,
    StepKind,
    decide,
    is_uncertain,
    limit_tries,
    next_look_at,
    next_try_s,
    settle_look,
)
from tests.support.facts import NOW, a_step

S = StepState
PACE = Pace()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ahead(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


# ------------------------------------------------------------------------------------------------ what to do now


@pytest.mark.parametrize(
    ("_case", "step", "move"),
    [
        ("planned, not released", {"state": S.PLANNED}, Move.LEAVE),
        ("planned and released", {"state": S.PLANNED, "due_at": ahead(60)}, Move.SEND),
        (
            "planned, released, but a call went out",
            {"state": S.PLANNED, "due_at": NOW, "may_have_happened": True},
            Move.LOOK,
        ),
        ("in flight, lease live", {"state": S.IN_FLIGHT, "lease_until": ahead(1)}, Move.LEAVE),
        ("in flight, lease just over", {"state": S.IN_FLIGHT, "lease_until": NOW}, Move.LOOK),
        ("in flight, lease expired", {"state": S.IN_FLIGHT, "lease_until": ago(1)}, Move.LOOK),
        (
            "in flight, lease expired, though nothing is known to have gone out",
            {"state": S.IN_FLIGHT, "lease_until": ago(1), "may_have_happened": False},
            Move.LOOK,
        ),
        ("in flight without a lease", {"state": S.IN_FLIGHT}, Move.LOOK),
        (
            "the crash before the last one",
            {"state": S.IN_FLIGHT, "lease_until": ago(1), "crashes": PACE.max_crashes - 2},
            Move.LOOK,
        ),
        (
            "too many crashes",
            {"state": S.IN_FLIGHT, "lease_until": ago(1), "crashes": PACE.max_crashes - 1},
            Move.PARK,
        ),
        (
            "too many crashes, but somebody holds it",
            {"state": S.IN_FLIGHT, "lease_until": ahead(1), "crashes": 99},
            Move.LEAVE,
        ),
        ("retry before its time", {"state": S.RETRY_SCHEDULED, "not_before": ahead(0.3)}, Move.LEAVE),
        ("retry a hair early", {"state": S.RETRY_SCHEDULED, "not_before": ahead(0.2)}, Move.SEND),
        ("retry at its time", {"state": S.RETRY_SCHEDULED, "not_before": NOW}, Move.SEND),
        ("retry without a time", {"state": S.RETRY_SCHEDULED}, Move.SEND),
        (
            "retry of what may have happened",
            {"state": S.RETRY_SCHEDULED, "not_before": NOW, "may_have_happened": True},
            Move.LOOK,
        ),
        ("pending", {"state": S.PENDING}, Move.LOOK),
        ("pending before its time", {"state": S.PENDING, "not_before": ahead(5)}, Move.LEAVE),
        ("unknown", {"state": S.UNKNOWN}, Move.LOOK),
        ("unknown, nothing may have happened", {"state": S.UNKNOWN, "may_have_happened": False}, Move.LOOK),
        ("unknown before its time", {"state": S.UNKNOWN, "not_before": ahead(5)}, Move.LEAVE),
        ("succeeded", {"state": S.SUCCEEDED, "due_at": NOW}, Move.LEAVE),
        ("skipped", {"state": S.SKIPPED, "due_at": NOW}, Move.LEAVE),
        ("reversed", {"state": S.REVERSED, "due_at": NOW}, Move.LEAVE),
        ("dead", {"state": S.DEAD_LETTERED, "due_at": NOW}, Move.LEAVE),
    ],
)
def test_what_a_worker_does_with_a_step(_case: str, step: dict[str, Any], move: Move) -> None:
    assert decide(a_step(**step), NOW, PACE) is move


TIMES = st.none() | st.floats(-10_000, 10_000).map(ahead)
COUNTS = st.integers(0, 20)
ANY_STEP = st.builds(
    a_step,
    state=st.sampled_from(StepState),
    may_have_happened=st.booleans(),
    not_before=TIMES,
    due_at=TIMES,
    lease_until=TIMES,
    sent_at=TIMES,
    attempts=COUNTS,
    crashes=COUNTS,
    looks=COUNTS,
    key_number=st.integers(1, 5),
    reference=st.sampled_from(["", "re_1"]),
    version=COUNTS,
)


@given(ANY_STEP)
def test_a_step_is_sent_only_where_nothing_may_have_happened_yet(step: Step) -> None:
    may_be_sent = step.state is S.RETRY_SCHEDULED or (step.state is S.PLANNED and step.due_at is not None)
    is_time = step.not_before is None or step.not_before - NOW <= timedelta(milliseconds=250)
    is_sent = decide(step, NOW, PACE) is Move.SEND
    assert is_sent is (may_be_sent and is_time and not step.may_have_happened)


@given(ANY_STEP)
def test_only_an_expired_lease_parks_and_a_live_one_is_left(step: Step) -> None:
    move = decide(step, NOW, PACE)
    if step.state is S.IN_FLIGHT:
        is_live = step.lease_until is not None and step.lease_until > NOW
        assert (move is Move.LEAVE) is is_live
        assert (move is Move.PARK) is (not is_live and step.crashes + 1 >= PACE.max_crashes)
    else:
        assert move is not Move.PARK


@given(ANY_STEP.filter(lambda step: step.state in (S.PENDING, S.UNKNOWN)))
def test_pending_and_unknown_are_looked_at_or_left(step: Step) -> None:
    assert decide(step, NOW, PACE) in (Move.LOOK, Move.LEAVE)


# ------------------------------------------------------------------------------------------------ what a look proves


@pytest.mark.parametrize(
    ("_case", "found", "step", "settled"),
    [
        (
            "absent, and an absence proves it at once",
            NotFound(0.0, "none"),
            {"sent_at": ago(1)},
            Retryable("not_there", "asked the vendor: none", 0.0),
        ),
        (
            "absent, never sent",
            NotFound(60.0, "none"),
            {},
            Retryable("not_there", "asked the vendor: none", 0.0),
        ),
        (
            "absent inside the vendor's delay",
            NotFound(60.0, "none"),
            {"sent_at": ago(20)},
            NotFound(40.0, "none"),
        ),
        (
            "absent when the delay is just over",
            NotFound(60.0, "none"),
            {"sent_at": ago(60)},
            Retryable("not_there", "asked the vendor: none", 0.0),
        ),
        (
            "absent, though the vendor had accepted it",
            NotFound(0.0, "none"),
            {"sent_at": ago(9999), "reference": "re_1"},
            Unknown("the vendor had accepted it as re_1 and does not show it now: none"),
        ),
        (
            "a vendor that cannot be asked",
            NotFound(None, "no look-up"),
            {"sent_at": ago(9999)},
            Permanent("unknowable", "it may have happened, and this vendor cannot be asked: no look-up"),
        ),
        (
            "a vendor that cannot be asked, though it had accepted it",
            NotFound(None, "no look-up"),
            {"reference": "re_1"},
            Permanent("unknowable", "it may have happened, and this vendor cannot be asked: no look-up"),
        ),
    ],
)
def test_what_an_absence_proves(_case: str, found: NotFound, step: dict[str, Any], settled: Outcome) -> None:
    assert settle_look(found, a_step(state=S.UNKNOWN, **step), NOW) == settled


def test_an_absence_counts_again_where_a_second_call_cannot_act_twice() -> None:
    accepted = a_step(state=S.PENDING, reference="job_1", sent_at=ago(60))
    assert settle_look(NotFound(0.0, "none"), accepted, NOW, is_natural=True) == Retryable(
        "not_there", "asked the vendor: none", 0.0
    )
    assert settle_look(NotFound(90.0, "none"), accepted, NOW, is_natural=True) == NotFound(30.0, "none")


@pytest.mark.parametrize(
    ("_case", "sent_at", "is_natural", "is_proof"),
    [
        ("sent within the vendor's memory", ago(100), False, True),
        ("sent before the vendor's memory", ago(101), False, False),
        ("sent before it, though a second call could not act twice", ago(101), True, False),
        ("never sent", None, False, True),
    ],
)
def test_an_absence_is_no_proof_once_the_vendor_forgets(
    _case: str, sent_at: datetime | None, is_natural: bool, is_proof: bool
) -> None:
    absent = NotFound(0.0, "none", conclusive_until_s=100.0)
    settled = settle_look(absent, a_step(state=S.UNKNOWN, sent_at=sent_at), NOW, is_natural=is_natural)
    if is_proof:
        assert isinstance(settled, Retryable)
    else:
        assert isinstance(settled, Permanent)
        assert settled.code == "unknowable"


@pytest.mark.parametrize(
    "found",
    [
        Done("re_1"),
        AlreadyDone("re_1"),
        Pending("re_1", 5.0),
        Retryable("throttled", "slow down"),
        Permanent("declined", "no"),
        Unknown("no answer"),
    ],
)
def test_a_word_of_the_vendor_stands_as_it_is(found: Outcome) -> None:
    assert settle_look(found, a_step(state=S.UNKNOWN), NOW) is found


@given(ANY_STEP, st.floats(0, 5000) | st.integers(0, 5000) | st.none())
def test_an_absence_sends_again_only_after_the_delay_and_without_a_reference(
    step: Step, delay_s: float | None
) -> None:
    settled = settle_look(NotFound(delay_s), step, NOW)
    is_early = (
        delay_s is not None and step.sent_at is not None and step.sent_at + timedelta(seconds=delay_s) > NOW
    )
    accepted = bool(step.reference) or step.state is S.PENDING
    assert isinstance(settled, Retryable) is (delay_s is not None and not accepted and not is_early)
    assert isinstance(settled, Permanent) is (delay_s is None)
    if isinstance(settled, NotFound):
        assert after(settled) is S.UNKNOWN
        assert settled.conclusive_after_s is not None
        assert settled.conclusive_after_s > 0


# ------------------------------------------------------------------------------------------------ when to come again

JITTER = st.floats(0, 1, exclude_max=True)


@given(ANY_STEP, st.floats(0, 10_000, exclude_min=True) | st.integers(1, 10_000), JITTER)
def test_the_vendors_hint_is_a_floor(step: Step, hint: float, jitter: float) -> None:
    wait_s = next_try_s(step, Retryable("throttled", "slow down", hint), PACE, jitter)
    assert hint <= wait_s <= hint * 1.1 + 0.2


@given(
    ANY_STEP,
    st.sampled_from([Retryable("unavailable", ""), Retryable("throttled", "", 0.0), Unknown("")]),
    JITTER,
)
def test_a_wait_without_a_hint_is_positive_and_below_its_cap(
    step: Step, outcome: Outcome, jitter: float
) -> None:
    cap = PACE.cap_s if isinstance(outcome, Retryable) else PACE.look_cap_s
    assert 0 < next_try_s(step, outcome, PACE, jitter) <= cap


@given(st.integers(1, 10_000), JITTER)
def test_waits_grow_to_the_cap_and_never_past_it(attempts: int, jitter: float) -> None:
    outcome = Retryable("unavailable", "")
    wait_s = next_try_s(a_step(attempts=attempts), outcome, PACE, 0.0)
    assert wait_s <= next_try_s(a_step(attempts=attempts + 1), outcome, PACE, 0.0)
    assert wait_s <= next_try_s(a_step(attempts=attempts), outcome, PACE, jitter)


@pytest.mark.parametrize(
    ("_case", "step", "outcome", "jitter", "wait_s"),
    [
        ("first retry, least", {"attempts": 1}, Retryable("unavailable", ""), 0.0, 0.5),
        ("first retry, half way", {"attempts": 1}, Retryable("unavailable", ""), 0.5, 0.75),
        ("fourth retry, least", {"attempts": 4}, Retryable("unavailable", ""), 0.0, 4.0),
        ("eleventh retry, at the cap", {"attempts": 11}, Retryable("unavailable", ""), 0.0, 450.0),
        ("a hint", {"attempts": 9}, Retryable("throttled", "", 2.0), 0.0, 2.0),
        ("a hint, spread", {"attempts": 9}, Retryable("throttled", "", 2.0), 0.5, 2.2),
        ("again at once", {"attempts": 9}, Retryable("not_there", "", 0.0), 0.9, 0.0),
        ("first look", {}, Unknown(""), 0.0, 2.5),
        ("third look", {"looks": 2}, Unknown(""), 0.0, 10.0),
        ("absence, inside the vendor's delay", {}, NotFound(40.0), 0.0, 2.5),
        ("absence, nearly proven", {"looks": 5}, NotFound(40.0), 0.9, 40.1),
        ("absence, a delay beyond the cap", {"looks": 20}, NotFound(86_400.0), 0.9, 3600.0),
        ("pending, with a hint", {}, Pending("re_1", 30.0), 0.9, 30.0),
        ("pending, hint used up", {"looks": 1}, Pending("re_1", 30.0), 0.0, 5.0),
        ("pending, no hint", {}, Pending("re_1"), 0.0, 2.5),
    ],
)
def test_when_a_step_is_tried_again(
    _case: str, step: dict[str, Any], outcome: Outcome | NotFound, jitter: float, wait_s: float
) -> None:
    assert next_try_s(a_step(**step), outcome, PACE, jitter) == pytest.approx(wait_s)


@given(ANY_STEP, st.floats(0.001, 100_000), JITTER)
def test_an_absence_is_looked_at_again_at_the_latest_when_it_would_prove_something(
    step: Step, left_s: float, jitter: float
) -> None:
    wait_s = next_try_s(step, NotFound(left_s), PACE, jitter)
    assert 0 < wait_s <= min(left_s + 0.1, PACE.look_cap_s)
    assert next_try_s(replace(step, looks=20), NotFound(left_s), PACE, jitter) >= min(left_s, PACE.look_cap_s)


# ------------------------------------------------------------------------------------------------ when a person is asked


@pytest.mark.parametrize(
    ("_case", "step", "outcome", "limited"),
    [
        ("a try before the last", {"attempts": 11}, Retryable("unavailable", "503"), None),
        (
            "the last try",
            {"attempts": 12},
            Retryable("unavailable", "503"),
            Permanent("gave_up:unavailable", "tried 12 times; last: 503"),
        ),
        ("our own pacing is no try", {"attempts": 99}, Retryable("paced", "wait"), None),
        ("a look before the last", {"looks": 13}, Unknown("timeout"), None),
        (
            "the last look",
            {"looks": 14},
            Unknown("timeout"),
            Permanent("still_unknown", "looked 14 times; last: timeout"),
        ),
        (
            "the last look finds nothing",
            {"looks": 14},
            NotFound(5.0, "none"),
            Permanent("still_unknown", "looked 14 times; last: none"),
        ),
        ("pending as long as the vendor says so", {"looks": 99}, Pending("re_1"), None),
        ("a yes at the last look", {"looks": 99, "attempts": 99}, Done("re_1"), None),
        ("a no at the last try", {"attempts": 99}, Permanent("declined", "no"), None),
        ("many looks do not count as tries", {"looks": 99}, Retryable("unavailable", "503"), None),
        ("many tries do not count as looks", {"attempts": 99}, Unknown("timeout"), None),
    ],
)
def test_a_step_that_goes_round_is_handed_to_a_person(
    _case: str, step: dict[str, Any], outcome: Outcome | NotFound, limited: Outcome | None
) -> None:
    assert limit_tries(a_step(**step), outcome, PACE) == (outcome if limited is None else limited)


@given(
    ANY_STEP, st.sampled_from([Unknown("x"), NotFound(5.0), Retryable("unavailable", "x"), Pending("re_1")])
)
def test_giving_up_never_forgets_that_it_may_have_happened(step: Step, outcome: Outcome | NotFound) -> None:
    limited = limit_tries(step, outcome, PACE)
    if isinstance(limited, Permanent):
        assert is_uncertain(limited) is isinstance(outcome, Unknown | NotFound)


@pytest.mark.parametrize("code", sorted(UNCERTAIN_CODES))
def test_an_uncertain_end_is_known_by_its_code(code: str) -> None:
    assert is_uncertain(Permanent(code, ""))


@pytest.mark.parametrize("code", ["declined", "gave_up:unavailable", "not_refundable", ""])
def test_a_definite_no_is_not_uncertain(code: str) -> None:
    assert not is_uncertain(Permanent(code, ""))


def test_every_kind_has_a_queue_and_only_refunds_are_on_the_money_queue() -> None:
    assert set(QUEUE_OF) == set(StepKind)
    assert [kind for kind, queue in QUEUE_OF.items() if queue is Queue.MONEY] == [StepKind.REFUND]


HOURS = (168.0, 24.0)


@pytest.mark.parametrize(
    ("_case", "action", "passed_h", "next_h"),
    [
        ("just done", "refund", 0, 24),
        ("in the first night", "record_refund", 23.9, 24),
        ("the first look is made", "refund", 24, 168),
        ("the last look is made", "credit_note", 168, None),
        ("a cancel is proven by the order itself", "cancel_order", 0, None),
        ("a message is never asked about again", "send_message", 0, None),
    ],
)
def test_what_was_done_is_asked_about_again_at_its_hours(
    _case: str, action: str, passed_h: float, next_h: float | None
) -> None:
    due = None if next_h is None else NOW + timedelta(hours=next_h)
    assert next_look_at(action, NOW, NOW + timedelta(hours=passed_h), HOURS) == due
