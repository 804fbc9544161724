from __future__ import annotations

from typing import Any

import pytest
import redis

from refundflow.transport.base import PacedError
from refundflow.transport.pacing import LocalPacer, RedisPacer


class Time:
    """A clock, and a wait that moves it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.now += seconds


def test_a_burst_goes_at_once_and_the_next_call_waits_its_turn() -> None:
    time = Time()
    pacer = LocalPacer(time, time.wait)
    for _ in range(4):
        pacer.acquire("acme", 2.0, 3)
    assert time.waits == [0.5]
    time.now += 10
    for _ in range(3):
        pacer.acquire("acme", 2.0, 3)
    assert time.waits == [0.5]


def test_a_wait_beyond_our_patience_is_handed_back_and_takes_nothing() -> None:
    time = Time()
    pacer = LocalPacer(time, time.wait)
    pacer.acquire("acme", 0.1, 1)
    for _ in range(3):
        with pytest.raises(PacedError) as paced:
            pacer.acquire("acme", 0.1, 1)
        assert paced.value.after_s == pytest.approx(10.0)
    time.now += 9
    pacer.acquire("acme", 0.1, 1)
    assert time.waits == [1.0]


def test_platforms_are_paced_apart() -> None:
    time = Time()
    pacer = LocalPacer(time, time.wait)
    pacer.acquire("acme", 0.1, 1)
    pacer.acquire("other", 0.1, 1)
    assert time.waits == []


def test_callers_that_wait_queue_up_behind_each_other() -> None:
    time = Time()
    waits: list[float] = []
    pacer = LocalPacer(
        time, waits.append
    )  # nobody's wait moves the clock: all of them ask in the same moment
    for _ in range(4):
        pacer.acquire("acme", 1.0, 1, patience_s=5.0)
    assert waits == [1.0, 2.0, 3.0]


class Answering:
    """As much of a Redis client as pacing uses."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    def eval(self, script: str, keys: int, *rest: Any) -> Any:
        self.asked.append((keys, *rest))
        told = self.answers.pop(0)
        if isinstance(told, Exception):
            raise told
        return told


def test_redis_says_how_long_to_wait() -> None:
    time = Time()
    client: Any = Answering(b"0.000000", b"1.500000", b"2.500000")
    pacer = RedisPacer(lambda: client, clock=time, wait=time.wait)
    pacer.acquire("acme", 2.0, 3)
    pacer.acquire("acme", 2.0, 3)
    with pytest.raises(PacedError) as paced:
        pacer.acquire("acme", 2.0, 3)
    assert paced.value.after_s == 2.5
    assert time.waits == [1.5]
    assert client.asked == [(1, "refundflow:pace:acme", "2.0", "3", "2.0")] * 3


@pytest.mark.parametrize(
    ("_case", "trouble"),
    [
        ("refused", redis.ConnectionError("refused")),
        ("too slow", redis.TimeoutError("slow")),
        ("no scripts allowed", redis.ResponseError("NOPERM")),
        ("an answer that is no number", b"OK"),
        ("no answer", None),
    ],
)
def test_without_redis_a_process_paces_itself_and_redis_is_asked_again_later(
    _case: str, trouble: Any
) -> None:
    time = Time()
    client: Any = Answering(trouble, b"0.000000")
    pacer = RedisPacer(lambda: client, clock=time, wait=time.wait)
    for _ in range(3):
        pacer.acquire("acme", 1.0, 2)
    assert len(client.asked) == 1
    assert time.waits == [1.0]
    time.now += 5
    pacer.acquire("acme", 1.0, 2)
    assert len(client.asked) == 2


def test_making_a_pacer_connects_to_nothing() -> None:
    def never() -> redis.Redis:
        raise AssertionError("asked for a client")

    RedisPacer(never)
