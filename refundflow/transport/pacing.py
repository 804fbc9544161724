"""Our own rate limits: a token bucket per platform, shared by all workers through Redis.

Pacing keeps us below the vendors' limits; it is a courtesy, not a safety rule. So it never holds money up for its own
sake: without Redis every process paces itself, and a wait longer than a moment is handed back as PacedError, for the step
to wait in its row and not in a worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import redis

from refundflow.transport.base import PacedError

PATIENCE_S: Final = 2.0
#: After Redis failed, how long it is not asked again: its time limit would be paid on every call.
_REDIS_PAUSE_S: Final = 5.0

# One atomic step: refill by the time that passed, take one token. A call that is willing to wait takes its token in
# advance (the level goes below zero), so callers queue up in order and each waits once. Time is Redis' own, so workers
# with different clocks share one bucket. An idle bucket expires when it would be full again.
_TAKE: Final = """
local rate, burst, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local held = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(held[1]) or burst, tonumber(held[2]) or now
level = math.min(burst, level + math.max(0, now - at) * rate)
local wait = math.max(0, (1 - level) / rate)
if wait <= patience then level = level - 1 end
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - level) / rate * 1000) + 1000)
return string.format('%.6f', wait)
"""


class Pacer(Protocol):
    def acquire(self, platform: str, rate_per_s: float, burst: int, patience_s: float = PATIENCE_S) -> None:
        """Takes one call's worth of the platform's rate, waiting up to `patience_s`. Raises PacedError when it would
        take longer; nothing is taken then.
        """


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def _admit(platform: str, wait_s: float, patience_s: float, wait: Callable[[float], object]) -> None:
    if wait_s > patience_s:
        raise PacedError(f"our own rate limit for {platform} has no room now", after_s=wait_s)
    if wait_s > 0:
        wait(wait_s)


class LocalPacer:
    """Paces one process. `clock`: monotonic seconds; `wait`: passes that many seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wait: Callable[[float], object] = _wait
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, float]] = {}

    def acquire(self, platform: str, rate_per_s: float, burst: int, patience_s: float = PATIENCE_S) -> None:
        with self._lock:
            now = self._clock()
            level, at = self._held.get(platform, (float(burst), now))
            level = min(float(burst), level + max(0.0, now - at) * rate_per_s)
            wait_s = max(0.0, (1 - level) / rate_per_s)
            self._held[platform] = (level - 1 if wait_s <= patience_s else level, now)
        _admit(platform, wait_s, patience_s, self._wait)


class RedisPacer:
    """Paces all workers together. Making it connects to nothing.

    `client`: gives the Redis client (with time limits well under a second) on first use; `fallback`: paces alone while
    Redis is away, with each process allowed the whole rate: too fast for a while beats no refunds at all, and a vendor
    that minds answers 429, which did nothing.
    """

    def __init__(
        self,
        client: Callable[[], redis.Redis],
        *,
        fallback: LocalPacer | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = _wait,
    ) -> None:
        self._client = client
        self._fallback = fallback or LocalPacer(clock, wait)
        self._clock = clock
        self._wait = wait
        self._away_until = 0.0

    def acquire(self, platform: str, rate_per_s: float, burst: int, patience_s: float = PATIENCE_S) -> None:
        if self._clock() < self._away_until:
            self._fallback.acquire(platform, rate_per_s, burst, patience_s)
            return
        try:
            answer: Any = self._client().eval(
                _TAKE, 1, f"refundflow:pace:{platform}", str(rate_per_s), str(burst), str(patience_s)
            )
            wait_s = float(answer)
        except (redis.RedisError, OSError, ValueError, TypeError):
            self._away_until = self._clock() + _REDIS_PAUSE_S
            self._fallback.acquire(platform, rate_per_s, burst, patience_s)
            return
        _admit(platform, wait_s, patience_s, self._wait)
