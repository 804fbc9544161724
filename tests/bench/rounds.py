"""One round: workers are started, N cases go in, and what it took is read from the servers, before and after."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any, Final

import psutil
import redis
from celery import Celery

from refundflow.demo.scenes import Line, Scene, World
from refundflow.demo.stack import Stack
from refundflow.embedded.supervisor import Program, Supervisor
from refundflow.store.db import Database, rows
from tests.bench import bare

WORK: Final = 2
MONEY: Final = 1
_PATIENCE_S: Final = 300.0
_WARM_UP: Final = 6
#: Commands by which workers ask for work, whether there is any or not; said apart, because an idle system has them too.
_POLLING: Final = frozenset({"brpop", "ping", "info", "auth", "select", "client|setinfo", "config|resetstat"})

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round took. `seconds`: from the first request sent to the last case complete; the rest is of the whole round.

    `calls`: vendor calls by operation; `cpu_s`: CPU seconds by process; `redis`: commands by name; `tasks`: lines of the
    meter, where one was loaded.
    """

    name: str
    cases: int
    seconds: float
    calls: Counter[str]
    cpu_s: dict[str, float]
    redis: Counter[str]
    commits: int
    tasks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.cases / self.seconds

    @property
    def messages(self) -> int:
        return self.redis["lpush"]

    @property
    def commands(self) -> int:
        return sum(count for name, count in self.redis.items() if name not in _POLLING)


class Bench:
    """Rounds on one running stack, each with orders of its own."""

    def __init__(self, stack: Stack, say: Say) -> None:
        self.stack = stack
        self.say = say
        self.database = Database(stack.postgres.url, pool_size=1)
        self.redis = redis.Redis.from_url(stack.redis.url, decode_responses=True)
        self.broker = stack.redis.url_of(1)
        self.bare_results = redis.Redis.from_url(self.broker, decode_responses=True)
        self.environment = {
            **stack.environment,
            "BENCH_BROKER": self.broker,
            "BENCH_SANDBOX": stack.sandbox_url,
            "REFUNDFLOW_LOG_LEVEL": "WARNING",
        }
        bare.app.conf.update(broker_url=self.broker, result_backend=self.broker)
        self._number = 10_000
        self._pause = Event()

    # ------------------------------------------------------------ the two sides

    def refundflow(self, cases: int, *, meter: Path | None = None) -> Round:
        """N cases through the front door; complete when their rows say so."""
        extra = " -I tests.bench.meter" if meter else ""
        common = f"--without-gossip --without-mingle -l WARNING{extra}"
        programs = [
            Program(
                "work",
                f"celery -A refundflow worker -Q intake,orders,ledger,notify -n work@%h -c {WORK} {common}",
            ),
            Program("money", f"celery -A refundflow worker -Q money -n money@%h -c {MONEY} {common}"),
            Program("beat", "celery -A refundflow beat -l WARNING"),
        ]
        name = "refundflow, metered" if meter else "refundflow"
        with self._workers(programs, self.stack.redis.url, meter) as pids:
            self._front_door(_WARM_UP, name)
            return self._measure(name, cases, pids, lambda: self._front_door(cases, name), meter)

    def canvas(self, cases: int, *, has_calls: bool = True) -> Round:
        """N canvases of plain Celery tasks; complete when the last task's result is there."""
        common = "--without-gossip --without-mingle -l WARNING"
        programs = [
            Program("work", f"celery -A tests.bench.bare worker -Q bare -n work@%h -c {WORK} {common}"),
            Program(
                "money", f"celery -A tests.bench.bare worker -Q bare-money -n money@%h -c {MONEY} {common}"
            ),
        ]
        name = "bare canvas" if has_calls else "bare canvas, no vendor calls"
        with self._workers(programs, self.broker, None) as pids:
            self._canvases(_WARM_UP, name, has_calls=has_calls)
            return self._measure(
                name, cases, pids, lambda: self._canvases(cases, name, has_calls=has_calls), None
            )

    def _front_door(self, cases: int, name: str) -> float:
        numbers = self._orders(cases)
        began = time.time()
        for sent, number in enumerate(numbers, start=1):
            body = {"order": number, "reason": "customer", "requested_by": "customer"}
            status, answer = self.stack.ask(body, f"bench-{number}")
            if status != 202:
                raise RuntimeError(f"the front door answered {status}: {answer}")
            if sent % 25 == 0:
                self.say(f"{name}: {sent} of {cases} requests sent")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with self.database.transaction() as connection:
                found = rows(
                    connection,
                    "SELECT state, closed_at FROM cases WHERE order_number = ANY(:numbers)",
                    numbers=numbers,
                )
            states = Counter(row["state"] for row in found)
            self.say(f"{name}: {states['complete']} of {cases} cases complete")
            if states["complete"] == cases:
                return max(_seconds(row["closed_at"]) for row in found) - began
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {_PATIENCE_S:g} s the cases are {dict(states)}")
            self._pause.wait(0.2)

    def _canvases(self, cases: int, name: str, *, has_calls: bool) -> float:
        numbers = self._orders(cases)
        began = time.time()
        waiting = []
        for sent, number in enumerate(numbers, start=1):
            waiting.append(bare.canvas(number, has_calls=has_calls).apply_async().id)
            if sent % 25 == 0:
                self.say(f"{name}: {sent} of {cases} canvases sent")
        deadline = time.monotonic() + _PATIENCE_S
        ended = began
        while waiting:
            told = self.bare_results.mget([f"celery-task-meta-{task_id}" for task_id in waiting])
            for text in told:
                if text is None:
                    continue
                result = json.loads(text)
                if result["status"] != "SUCCESS":
                    raise RuntimeError(f"{name}: a canvas ended {result['status']}: {result['result']}")
                ended = max(ended, _seconds(datetime.fromisoformat(result["date_done"])))
            waiting = [task_id for task_id, text in zip(waiting, told, strict=True) if text is None]
            self.say(f"{name}: {cases - len(waiting)} of {cases} canvases complete")
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {_PATIENCE_S:g} s {len(waiting)} canvases are open")
            self._pause.wait(0.2)
        gc.collect()  # results of canvases refer to each other; let go while the broker is still there
        return ended - began

    # ------------------------------------------------------------ before and after

    def _measure(
        self,
        name: str,
        cases: int,
        pids: dict[str, int],
        play: Callable[[], float],
        meter: Path | None,
    ) -> Round:
        for file in meter.glob("*.jsonl") if meter else ():
            file.write_text("")
        calls, commands, commits = self._calls(), self._commands(), self._commits()
        cpu = {process: _cpu_s(pid) for process, pid in pids.items()}
        seconds = play()
        used = {process: _cpu_s(pid) - cpu[process] for process, pid in pids.items()}
        done = Round(
            name,
            cases,
            seconds,
            self._calls() - calls,
            used,
            self._commands() - commands,
            self._commits() - commits,
            [
                json.loads(line)
                for file in sorted(meter.glob("*.jsonl"))
                for line in file.read_text().splitlines()
            ]
            if meter
            else [],
        )
        self.say(f"{name}: {done.rate:.1f} cases a second")
        return done

    def _calls(self) -> Counter[str]:
        counts = self.stack.control("GET", "calls")["counts"]
        found: Counter[str] = Counter()
        for line in counts:
            found[f"{line['vendor']} {line['operation']}"] += line["count"]
        return found

    def _commands(self) -> Counter[str]:
        stats = self.redis.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): line["calls"] for name, line in stats.items()})

    def _commits(self) -> int:
        with self.database.transaction() as connection:
            found = rows(
                connection, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            )
        return int(found[0]["xact_commit"])

    # ------------------------------------------------------------ setting up

    def _orders(self, cases: int) -> list[str]:
        """Seeds that many fresh orders, paid by card and invoiced; returns their numbers."""
        scenes = tuple(
            Scene(f"bench-{self._number + i}", "measured", lines=(Line(0, 2), Line(4, 1)))
            for i in range(cases)
        )
        world = World(scenes, first_number=self._number)
        self._number += cases
        self.stack.control("POST", "seed", world.seed())
        return [world.number(scene) for scene in scenes]

    @contextmanager
    def _workers(self, programs: list[Program], broker: str, meter: Path | None) -> Iterator[dict[str, int]]:
        """Workers for one round, answering; then every process by name, to read its CPU time from."""
        self.stack.control("POST", "reset", {})
        # Celery's command line takes BROKER_URL from the environment before the application's own word.
        environment = {
            **self.environment,
            "BROKER_URL": broker,
            **({"BENCH_METER": str(meter)} if meter else {}),
        }
        home = self.stack.home / f"round-{self._number}"
        asker = Celery("asker", broker=broker)
        workers = sum(program.name != "beat" for program in programs)
        with Supervisor(programs, home, environment=environment, grace_s=10.0) as supervisor:
            deadline = time.monotonic() + 60.0
            while len(asker.control.ping(timeout=0.5, limit=workers) or ()) < workers:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"workers did not start; see {home / 'logs'}")
            own = {"practice vendors": "sandbox", "ingest": "ingest"}
            pids = {name: self.stack.supervisor.pid_of(program) for name, program in own.items()}
            pids |= {f"worker {p.name}": supervisor.pid_of(p.name) for p in programs if p.name != "beat"}
            pids |= {p.name: supervisor.pid_of(p.name) for p in programs if p.name == "beat"}
            pids |= {"PostgreSQL": self.stack.postgres.pid or 0, "Redis": self.stack.redis.pid or 0}
            yield pids
        asker.close()


def _seconds(at: datetime) -> float:
    return at.timestamp()


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process, of its living children, and of those it has waited for."""
    process = psutil.Process(pid)
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile; its parent's account has it
        total += times.user + times.system + times.children_user + times.children_system
    return total
