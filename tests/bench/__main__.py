"""The command line of the benchmark: rounds, front door, findings."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from refundflow.demo.stack import Stack
from refundflow.observe import set_up_logs
from refundflow.store.db import rows
from tests.bench.front_door import THREADS, measure_share, post_for
from tests.bench.report import Findings, page, plot, summary
from tests.bench.rounds import Bench

_HERE: Final = Path(__file__).parent
_DOCS: Final = _HERE.parents[1] / "docs"


class Line:
    """Progress: one line that is written over on a terminal; on anything else, each new text once."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last = ""

    def __call__(self, text: str) -> None:
        if text == self._last:
            return
        self._last = text
        sys.stderr.write(f"\r\x1b[K{text}" if self._is_terminal else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="How fast refundflow is beside a bare Celery canvas. Starts a system of its own; writes docs/benchmarks.md.",
    )
    parser.add_argument("--cases", type=int, default=150, help="cases a round (default: 150)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side, alternately (default: 3)")
    parser.add_argument(
        "--ingest-s", type=float, default=5.0, help="seconds of load on the front door (default: 5)"
    )
    parser.add_argument(
        "--out", type=Path, default=_DOCS, help="folder for benchmarks.md and benchmarks.svg (default: docs)"
    )
    asked = parser.parse_args()
    if asked.cases < 1 or asked.rounds < 1 or asked.ingest_s <= 0:
        parser.error("cases and rounds are at least 1, and the load takes more than no time")
    set_up_logs("ERROR", is_json=False)
    home = Path(tempfile.mkdtemp(prefix="refundflow-bench-"))
    line = Line()
    try:
        found = measure(home, asked.cases, asked.rounds, asked.ingest_s, line)
    except BaseException:
        line.end()
        sys.stderr.write(f"stopped; the logs are in {home}\n")
        raise
    shutil.rmtree(home, ignore_errors=True)
    line.end()
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "benchmarks.md").write_text(page(found), encoding="utf-8")
    (asked.out / "benchmarks.svg").write_text(plot(found), encoding="utf-8")
    sys.stdout.write(f"{summary(found)}\nwritten: {asked.out / 'benchmarks.md'}, benchmarks.svg\n")


def measure(home: Path, cases: int, rounds: int, ingest_s: float, line: Line) -> Findings:
    """One run of everything, on a system that is thrown away afterwards."""
    load_before = os.getloadavg()[0]
    line("starting PostgreSQL, Redis, the practice vendors and the front door")
    without = ("flower", "work", "money", "beat")  # each round starts workers of its own
    with Stack(home, config=_HERE / "refundflow.toml", without=without) as stack:
        bench = Bench(stack, line)
        pairs = [(bench.refundflow(cases), bench.canvas(cases)) for _ in range(rounds)]
        empty = bench.canvas(cases, has_calls=False)
        meter = home / "meter"
        meter.mkdir()
        metered = bench.refundflow(max(20, cases // 3), meter=meter)
        # Last, because it leaves thousands of events that no worker shall work on.
        line("the front door: one client")
        loads = [post_for(stack.api_url, min(2.0, ingest_s), 1, "one")]
        line(f"the front door: {THREADS} clients")
        loads.append(post_for(stack.api_url, ingest_s, THREADS, "many"))
        line("the front door, metered")
        door = home / "door"
        door.mkdir()
        share = measure_share(stack, door, min(3.0, ingest_s))
        with bench.database.transaction() as connection:
            postgres = rows(connection, "SELECT current_setting('server_version') AS version")[0]["version"]
        return Findings(
            command=" ".join(["python -m tests.bench", *sys.argv[1:]]),
            pairs=pairs,
            empty=empty,
            metered=metered,
            loads=loads,
            share=share,
            postgres=postgres,
            redis=bench.redis.info("server")["redis_version"],
            load_before=load_before,
            load_after=os.getloadavg()[0],
        )


if __name__ == "__main__":
    main()
