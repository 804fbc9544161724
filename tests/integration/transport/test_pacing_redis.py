"""The pacing script against a real Redis: one bucket for all workers, on Redis' own clock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from refundflow.embedded.redis import EmbeddedRedis, NoRedisError
from refundflow.transport.base import PacedError
from refundflow.transport.pacing import RedisPacer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with tempfile.TemporaryDirectory(prefix="refundflow-", ignore_cleanup_errors=True) as folder:
        try:
            started = EmbeddedRedis(Path(folder), is_throwaway=True).start()
        except NoRedisError as error:
            pytest.skip(str(error))
        yield started
        started.stop()


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(server.url, socket_timeout=0.5, socket_connect_timeout=0.5)
    made.flushdb()
    yield made
    made.close()


def test_two_workers_share_one_bucket(client: redis.Redis) -> None:
    waits: list[float] = []
    workers = [RedisPacer(lambda: client, wait=waits.append) for _ in range(2)]
    for turn in range(5):
        workers[turn % 2].acquire("acme", 1.0, 3)
    assert [round(w) for w in waits] == [1, 2]
    with pytest.raises(PacedError) as paced:
        workers[0].acquire("acme", 1.0, 3)
    assert 2.0 < (paced.value.after_s or 0) <= 3.0
    workers[0].acquire("other", 1.0, 3)
    assert len(waits) == 2


def test_many_callers_at_once_get_exactly_what_there_is(client: redis.Redis) -> None:
    pacer = RedisPacer(lambda: client)

    def ask(_: int) -> bool:
        try:
            pacer.acquire("acme", 0.001, 7, patience_s=0.0)
        except PacedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(60))) == 7


def test_a_bucket_goes_away_when_it_would_be_full_again(client: redis.Redis) -> None:
    RedisPacer(lambda: client).acquire("acme", 2.0, 10)
    assert client.keys() == [b"refundflow:pace:acme"]
    assert 1000 < client.pttl("refundflow:pace:acme") <= 1500


def test_a_redis_that_went_away_does_not_hold_a_call_up(server: EmbeddedRedis) -> None:
    away = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_timeout=0.2, socket_connect_timeout=0.2)
    waits: list[float] = []
    pacer = RedisPacer(lambda: away, wait=waits.append)
    for _ in range(3):
        pacer.acquire("acme", 100.0, 3)
    assert waits == []
