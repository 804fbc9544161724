"""`replay` asks the payer first, and never pays twice. The payer's own book says what really happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from refundflow.domain.states import CaseState, StepState
from refundflow.store import payments, steps
from tests.integration.cli.desk import (
    CANCEL,
    CANCELLED,
    CASE,
    NOBODY,
    REFUND,
    REFUSED,
    STILL_UNKNOWN,
    Desk,
)

pytestmark = pytest.mark.integration
_ROOT = Path(__file__).parents[3]
_ACT = ("--execute", "--reason", "the payer was asked", "--operator", "ana")


@dataclass
class Payer:
    """The payer's book, and the command line beside it."""

    desk: Desk
    book: Path
    paid: str

    def type(self, *args: str, door: str = "cli") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("child.py")),
                str(self.book),
                self.paid,
                door,
                *args,
            ],
            cwd=_ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                "DATABASE_URL": self.desk.db.url,
                "BROKER_URL": NOBODY,
                "REFUNDFLOW_CONFIG": "",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self.book.read_text().splitlines() if self.book.exists() else []


@pytest.fixture
def dead_refund(desk: Desk) -> Desk:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, STILL_UNKNOWN, seconds=10)
    desk.move_case(CaseState.ATTENTION, f"{REFUND}: still_unknown")
    return desk


def test_replay_without_execute_asks_the_payer_and_changes_nothing(dead_refund: Desk, tmp_path: Path) -> None:
    payer = Payer(dead_refund, tmp_path / "book", "paid")

    result = payer.type("replay", REFUND)

    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "1 dead step: 0 to go again, 1 refused; no money may go out"
    assert "done: re_1" in lines[3]
    assert "refused: the money moved already" in lines[3]
    assert lines[-1] == 'nothing was changed; to act, say it again with --execute --reason "…"'
    assert payer.calls == [f"find {REFUND}"]
    assert dead_refund.step(REFUND).state is StepState.DEAD_LETTERED


def test_replaying_money_that_moved_already_records_it_and_pays_nothing(
    dead_refund: Desk, tmp_path: Path
) -> None:
    payer = Payer(dead_refund, tmp_path / "book", "paid")

    result = payer.type("replay", REFUND, *_ACT, "--json")
    payer.type(REFUND, door="work")

    told = json.loads(result.stdout)
    assert result.returncode == 0
    assert (told["steps"][0]["is_refused"], told["money"], told["broker"]) == (True, [], "away")
    assert payer.calls == [f"find {REFUND}", f"find {REFUND}"]
    step = dead_refund.step(REFUND)
    assert (step.state, step.reference) == (StepState.SUCCEEDED, "re_1")
    payment = dead_refund.db.run(lambda c: payments.by_reference(c, "stripe", "pi_1"))
    assert payment is not None
    assert (payment["reserved"], payment["settled"]) == (0, 4250)


def test_replaying_a_refund_that_is_not_there_pays_it_once_under_the_same_key(
    dead_refund: Desk, tmp_path: Path
) -> None:
    payer = Payer(dead_refund, tmp_path / "book", "unpaid")

    result = payer.type("replay", CASE, *_ACT)
    payer.type(REFUND, door="work")
    payer.type(REFUND, door="work")

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "1 dead step: 1 to go again, 0 refused; 42.50 EUR may go out"
    assert result.stdout.splitlines()[-1].startswith(
        "1 step will be launched by the sweep: the broker is away ("
    )
    assert payer.calls == [
        f"find {REFUND}",
        f"find {REFUND}",
        f"refund refundflow:{REFUND}:1 42.50 EUR",
    ]
    assert dead_refund.step(REFUND).reference == "re_2"


def test_a_step_that_is_not_dead_is_refused_and_nobody_is_called(desk: Desk, tmp_path: Path) -> None:
    desk.open_case()
    payer = Payer(desk, tmp_path / "book", "paid")

    result = payer.type("replay", REFUND, *_ACT)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: {REFUND} is planned, not dead: nothing to replay\n"
    assert payer.calls == []


def test_a_step_that_does_not_exist_is_a_usage_mistake(desk: Desk, tmp_path: Path) -> None:
    payer = Payer(desk, tmp_path / "book", "paid")

    result = payer.type("replay", "RF-NOBODY.refund.1", *_ACT)

    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == "error: no step RF-NOBODY.refund.1"
    assert payer.calls == []


def test_ask_reads_and_writes_nothing(dead_refund: Desk, tmp_path: Path) -> None:
    payer = Payer(dead_refund, tmp_path / "book", "paid")

    result = payer.type("ask", REFUND)

    assert result.stdout.splitlines() == [
        f"{REFUND}  refund over 42.50 EUR at stripe, here dead_lettered",
        "stripe says: done: re_1",
    ]
    assert payer.calls == [f"find {REFUND}"]
    assert dead_refund.step(REFUND).state is StepState.DEAD_LETTERED


def test_discarding_a_refund_that_may_have_paid_is_refused(dead_refund: Desk, tmp_path: Path) -> None:
    payer = Payer(dead_refund, tmp_path / "book", "paid")

    result = payer.type("dead-letters", "discard", REFUND, *_ACT)

    assert result.returncode == 1
    assert result.stderr == (
        f"error: {REFUND} may have paid: replay asks the payer and settles it either way; it cannot be discarded unasked\n"
    )
    assert dead_refund.step(REFUND).state is StepState.DEAD_LETTERED
    assert payer.calls == []


def test_discarding_a_refused_refund_gives_its_reservation_back(desk: Desk, tmp_path: Path) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, REFUSED, seconds=10)
    payer = Payer(desk, tmp_path / "book", "unpaid")

    result = payer.type("dead-letters", "discard", REFUND, *_ACT)

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{REFUND}  discarded", "nothing to launch now"]
    assert desk.step(REFUND).state is StepState.SKIPPED
    payment = desk.db.run(lambda c: payments.by_reference(c, "stripe", "pi_1"))
    assert payment is not None
    assert payment["reserved"] == 0
    assert payer.calls == []


def test_resolving_a_task_needs_its_proof_and_closes_it(desk: Desk, tmp_path: Path) -> None:
    desk.open_case()
    desk.add_task("Refund 42.50 EUR by bank transfer.")
    task = f"{CASE}.human_task.1"
    payer = Payer(desk, tmp_path / "book", "unpaid")

    plan = payer.type("dead-letters", "resolve", task, "--proof", "transfer 77", "--operator", "ana")
    state_after_plan = desk.step(task).state
    done = payer.type(
        "dead-letters", "resolve", task, "--proof", "transfer 77", "--operator", "ana", "--execute"
    )

    assert (plan.returncode, state_after_plan) == (0, StepState.DEAD_LETTERED)
    assert done.returncode == 0, done.stderr
    resolved = desk.step(task)
    assert (resolved.state, resolved.reference) == (StepState.SUCCEEDED, "transfer 77")
    assert [s.step_key for s in desk.db.run(lambda c: steps.of_case(c, CASE))] == [CANCEL, REFUND, task]


def test_doctor_names_the_broker_that_is_away_and_the_database_that_answers(
    desk: Desk, tmp_path: Path
) -> None:
    payer = Payer(desk, tmp_path / "book", "unpaid")

    result = payer.type("doctor", "--json")

    checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
    assert result.returncode == 1
    assert checks["database"]["result"] == "ok"
    assert checks["beat"]["detail"] == "no row is due, so nothing shows that a sweep is missing"
    assert checks["broker"]["result"] == "error"
    assert checks["broker"]["detail"].startswith("redis is away: ")


def test_doctor_tells_overdue_rows_as_a_beat_that_does_not_sweep(dead_refund: Desk, tmp_path: Path) -> None:
    payer = Payer(dead_refund, tmp_path / "book", "unpaid")
    payer.type("replay", REFUND, *_ACT)

    result = payer.type("doctor", "--json")

    [beat] = [c for c in json.loads(result.stdout)["checks"] if c["name"] == "beat"]
    assert beat["result"] == "error"
    assert beat["detail"].startswith(
        "1 rows have been due for more than 3 sweeps (15 s), the oldest since 2026-11-23T02:02:10Z"
    )
