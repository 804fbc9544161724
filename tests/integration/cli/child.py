"""The command line in a process of its own, over a payer with a book: `python child.py BOOK cli ARGS…` or `… work STEP`.

A process of its own, because Celery reads its settings once per process. The book gets one line per call at the payer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refundflow.cli.main import app
from refundflow.domain.commands import Refund
from refundflow.domain.ids import StepKey
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome
from refundflow.flow.context import Platforms, Runner
from refundflow.flow.run_step import run_step
from refundflow.settings import load
from refundflow.store.db import Database
from tests.integration.cli.desk import Desk, at


@dataclass
class Payer:
    """A payer that writes down every call. `has_paid`: whether it shows the refund when it is asked."""

    book: Path
    has_paid: bool

    def refund(self, command: Refund) -> Outcome:
        self._write(f"refund {command.key} {command.amount}")
        return Done("re_2")

    def find_refund(self, command: Refund) -> Found:
        self._write(f"find {command.step_key}")
        return Done("re_1") if self.has_paid else NotFound(0.0)

    def _write(self, line: str) -> None:
        with self.book.open("a") as book:
            book.write(line + "\n")


def main(book: str, paid: str, door: str, *args: str) -> None:
    payer: Any = Payer(Path(book), paid == "paid")
    desk = Desk(Database(load().database_url.reveal()), Platforms(refunders={"stripe": payer}), now=at(100))
    if door == "cli":
        app(list(args), obj=desk.house)
    else:
        run_step(desk.house.context, StepKey(args[0]), Runner("task-3", "child"))


if __name__ == "__main__":
    main(*sys.argv[1:])
