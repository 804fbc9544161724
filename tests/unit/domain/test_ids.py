"""Identifiers: case ids sort by time, step keys lead back to their case, wire keys change only with the key number."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.domain.ids import StepKey, case_of, mint_case_id, mint_step_key, opened_at, wire_key
from refundflow.domain.steps import StepKind
from tests.support.facts import CASE, NOW

NOISE = st.integers(0, 2**30 - 1)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis wants naive bounds and adds the zone


@given(TIMES, NOISE)
def test_a_case_id_has_one_shape(now: datetime, noise: int) -> None:
    assert re.fullmatch(r"RF-[0-9A-HJKMNP-TV-Z]{15}", mint_case_id(now, noise))


@given(TIMES, st.integers(1, 10**9), NOISE, NOISE)
def test_case_ids_sort_by_time_whatever_their_noise(
    now: datetime, later_ms: int, one: int, other: int
) -> None:
    later = now + timedelta(milliseconds=later_ms + 1)
    assert mint_case_id(now, one) < mint_case_id(later, other)


@given(NOISE, NOISE)
def test_cases_of_one_millisecond_differ_by_their_noise(one: int, other: int) -> None:
    assert (mint_case_id(NOW, one) == mint_case_id(NOW, other)) is (one == other)


@given(TIMES, NOISE, st.sampled_from(StepKind), st.integers(1, 999))
def test_a_step_key_leads_back_to_its_case(now: datetime, noise: int, kind: StepKind, number: int) -> None:
    case_id = mint_case_id(now, noise)
    assert case_of(mint_step_key(case_id, kind.value, number)) == case_id


@given(TIMES, NOISE)
def test_a_step_key_tells_when_its_case_was_opened(now: datetime, noise: int) -> None:
    key = mint_step_key(mint_case_id(now, noise), "refund", 1)
    assert opened_at(key) == int(now.timestamp() * 1000) // 1000


@pytest.mark.parametrize(
    "key",
    [
        "",
        "refund.1",
        "RF-.refund.1",
        "RF-01JQZ7K3M0ABCD.refund.1",
        "RF-01jqz7k3m0abcde.refund.1",
        f"RF-{'Z' * 15}.refund.1",
    ],
)
def test_a_key_that_was_not_minted_here_tells_no_time(key: str) -> None:
    assert opened_at(StepKey(key)) == 0


def test_keys_are_written_out_in_one_way() -> None:
    key = mint_step_key(CASE, "refund", 2)
    assert key == "RF-01JQZ7K3M0ABCDE.refund.2"
    assert wire_key(key, 1) == "refundflow:RF-01JQZ7K3M0ABCDE.refund.2:1"


@given(st.sets(st.tuples(st.sampled_from(StepKind), st.integers(1, 50), st.integers(1, 9)), max_size=30))
def test_no_two_intentions_share_a_wire_key(intentions: set[tuple[StepKind, int, int]]) -> None:
    keys = {wire_key(mint_step_key(CASE, kind.value, number), go) for kind, number, go in intentions}
    assert len(keys) == len(intentions)
