"""Counts and times what a worker's children do, task by task. Loaded by `celery … -I tests.bench.meter`, into measured rounds only.

One JSON line per task is appended to `$BENCH_METER/<pid>.jsonl`: the task's name, wall and CPU seconds, and for each of
sql, commit, vendor, publish and result how often and for how many seconds. What is nested counts once, for the outermost;
`redis` counts commands, whoever sends them, and `messages` the task messages (`publish` times events for Flower too).
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
import requests
from celery.backends.redis import RedisBackend
from celery.signals import after_task_publish, task_postrun, task_prerun
from kombu.messaging import Producer
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine.default import DefaultDialect

TIMED: Final = ("sql", "commit", "vendor", "publish", "result")


class Meter(threading.local):
    """What this thread has done since `start`."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.counts = dict.fromkeys((*TIMED, "redis", "messages"), 0)
        self.seconds = dict.fromkeys(TIMED, 0.0)
        self.depth = 0
        self.began = time.perf_counter()
        self.cpu = time.process_time()

    def line(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "wall_s": time.perf_counter() - self.began,
            "cpu_s": time.process_time() - self.cpu,
            "counts": self.counts,
            "seconds": self.seconds,
        }


meter = Meter()


def _measure(owner: type, name: str, kind: str) -> None:
    plain: Callable[..., Any] = getattr(owner, name)

    def measured(*args: Any, **options: Any) -> Any:
        if meter.depth:
            return plain(*args, **options)
        meter.depth += 1
        began = time.perf_counter()
        try:
            return plain(*args, **options)
        finally:
            meter.depth -= 1
            meter.counts[kind] += 1
            meter.seconds[kind] += time.perf_counter() - began

    setattr(owner, name, measured)


def _count_commands() -> None:
    plain: Callable[..., Any] = redis.Redis.execute_command
    plain_pipeline: Callable[..., Any] = getattr(redis.client.Pipeline, "execute")  # noqa: B009 (it has no types)

    def execute_command(self: Any, *args: Any, **options: Any) -> Any:
        meter.counts["redis"] += 1
        return plain(self, *args, **options)

    def execute(self: Any, *args: Any, **options: Any) -> Any:
        # A transaction has MULTI and EXEC around its commands.
        meter.counts["redis"] += len(self.command_stack) + (2 if self.transaction else 0)
        return plain_pipeline(self, *args, **options)

    setattr(redis.Redis, "execute_command", execute_command)  # noqa: B010 (mypy refuses the plain assignment)
    setattr(redis.client.Pipeline, "execute", execute)  # noqa: B010 (as above)


def keep(name: str) -> None:
    """Appends what was measured since the start, under a name."""
    folder = os.environ["BENCH_METER"]
    with (Path(folder) / f"{os.getpid()}-{threading.get_ident()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(meter.line(name)) + "\n")


@task_prerun.connect
def _start(**_: Any) -> None:
    meter.start()


@after_task_publish.connect
def _sent(**_: Any) -> None:
    meter.counts["messages"] += 1


@task_postrun.connect
def _end(task: Any, **_: Any) -> None:
    keep(task.name)


_measure(DefaultDialect, "do_execute", "sql")
_measure(PGDialect_psycopg2, "do_executemany", "sql")
_measure(DefaultDialect, "do_commit", "commit")
_measure(requests.Session, "send", "vendor")
_measure(Producer, "publish", "publish")
_measure(RedisBackend, "store_result", "result")
_measure(RedisBackend, "on_chord_part_return", "result")
_count_commands()
