"""Reading commands over real rows: why, task show, audit verify, events, dead letters, ledger, db."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from refundflow.domain.states import StepState
from refundflow.store import dead
from refundflow.store.db import Database
from tests.integration.cli.desk import (
    CANCEL,
    CANCELLED,
    CASE,
    REFUND,
    REFUNDED,
    REFUSED,
    T0,
    Desk,
)

pytestmark = pytest.mark.integration


def _tamper(desk: Desk, sql: str) -> None:
    """What somebody with the database's keys could do: the triggers do not fire for a replica."""
    with desk.db.transaction() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(sql))


def _verify(desk: Desk) -> tuple[int, dict[str, Any]]:
    result = desk.type("audit", "verify", "--json")
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def audited(desk: Desk) -> Desk:
    """Four audit rows of one case, one of the system, four attempts."""
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1, task_id="task-1")
    desk.run_step(REFUND, REFUNDED, seconds=10, task_id="task-1")
    return desk


def test_an_untouched_audit_holds_and_its_root_comes_out_again(audited: Desk) -> None:
    code, verdict = _verify(audited)

    assert code == 0
    assert (verdict["rows"], verdict["chains"], verdict["first_break"]) == (9, 3, None)
    again = audited.type("audit", "verify", "--expect", verdict["root"])
    assert (again.exit_code, again.stdout.splitlines()[0]) == (
        0,
        "9 rows in 3 chains checked: every chain holds",
    )


def test_another_root_than_the_kept_one_is_told(audited: Desk) -> None:
    result = audited.type("audit", "verify", "--expect", "0" * 64)

    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == f"expected {'0' * 64}: NOT THE SAME"


@pytest.mark.parametrize(
    ("_case", "sql", "row", "what"),
    [
        (
            "changed",
            "UPDATE audit SET detail = '{\"verdict\": \"decline\"}' WHERE case_id <> 'system' AND chain_no = 2",
            2,
            "row 2 was changed",
        ),
        (
            "dropped",
            "DELETE FROM audit WHERE case_id <> 'system' AND chain_no = 3",
            3,
            "row 3 is missing (found row 4)",
        ),
        (
            "reordered",
            "UPDATE audit SET chain_no = 9 WHERE case_id <> 'system' AND chain_no = 2;"
            "UPDATE audit SET chain_no = 2 WHERE case_id <> 'system' AND chain_no = 3;"
            "UPDATE audit SET chain_no = 3 WHERE case_id <> 'system' AND chain_no = 9",
            2,
            "row 2 does not follow row 1",
        ),
        (
            "cut off",
            "DELETE FROM audit WHERE case_id <> 'system' AND chain_no = 4",
            4,
            "rows after 3 are missing (the head says 4)",
        ),
    ],
)
def test_a_tampered_audit_names_its_first_row_that_does_not_hold(
    audited: Desk, _case: str, sql: str, row: int, what: str
) -> None:
    _tamper(audited, sql)

    code, verdict = _verify(audited)

    assert code == 1
    assert verdict["first_break"] == {"table": "audit", "case_id": CASE, "row": row, "what": what}
    told = audited.type("audit", "verify").stdout.splitlines()
    assert told[1] == f"audit of {CASE}, row {row}: {what}"


def test_why_comes_out_the_same_bit_for_bit(audited: Desk) -> None:
    lines = audited.lines("why", CASE)

    assert lines[0] == "decision 1, 2026-11-23T02:00:00Z, policy 1: approve"
    assert lines[-2] == "  computed again from its stored inputs: the same, bit for bit"


def test_why_fails_when_the_stored_decision_is_not_what_its_inputs_give(audited: Desk) -> None:
    _tamper(audited, "UPDATE decisions SET decision = jsonb_set(decision, '{amount,minor}', '4200')")

    result = audited.type("why", CASE, "--json")

    assert result.exit_code == 1
    [decision] = json.loads(result.stdout)["decisions"]
    assert decision["is_same"] is False
    assert json.loads(decision["stored"])["amount"] == {"minor": 4200, "currency": "EUR"}
    assert json.loads(decision["computed"])["amount"] == {"minor": 4250, "currency": "EUR"}


def test_a_task_is_found_by_its_celery_id_in_our_own_rows(audited: Desk) -> None:
    found = json.loads(audited.type("task", "show", "task-1", "--json").stdout)

    assert [(a["step_key"], a["phase"], a["outcome"], a["worker"], a["at"]) for a in found["attempts"]] == [
        (CANCEL, "claimed", "", "celery@a/7", "2026-11-23T02:00:01Z"),
        (CANCEL, "ended", "done", "celery@a/7", "2026-11-23T02:00:02Z"),
        (REFUND, "claimed", "", "celery@a/7", "2026-11-23T02:00:10Z"),
        (REFUND, "ended", "done", "celery@a/7", "2026-11-23T02:00:11Z"),
    ]
    [event] = json.loads(audited.type("task", "show", "task-intake", "--json").stdout)["events"]
    assert (event["id"], event["state"], event["case_id"]) == (1, "handled", CASE)


def test_a_task_that_nobody_ran_is_a_usage_mistake(audited: Desk) -> None:
    result = audited.type("task", "show", "task-9")

    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "error: no task task-9")


def test_an_events_body_is_shown_only_when_asked_for(audited: Desk) -> None:
    assert '{"id": 5001}' not in audited.type("events", "show", "1").stdout
    assert audited.lines("events", "show", "1", "--body")[-2:] == ['  {"id": 5001}', ""]
    assert "body" not in json.loads(audited.type("events", "show", "1", "--json").stdout)


def test_a_handled_event_is_not_handed_in_again(audited: Desk) -> None:
    result = audited.type("events", "replay", "1", "--execute", "--reason", "again", "--operator", "ana")

    assert result.exit_code == 1
    assert result.stderr == (
        "error: event 1 is handled: only an unreadable or parked one can be handed in again\n"
    )


def test_dead_letters_lists_steps_and_messages(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, REFUSED, seconds=1)
    desk.db.run(lambda c: _keep_message(c, "a" * 64))

    found = json.loads(desk.type("dead-letters", "list", "--json").stdout)

    assert [(s["step_key"], s["code"], s["may_have_happened"]) for s in found["steps"]] == [
        (CANCEL, "charge_expired", False)
    ]
    assert [(m["message_id"], m["queue"], m["size"]) for m in found["messages"]] == [("a" * 64, "money", 3)]
    assert desk.lines("dead-letters", "list")[0] == "1 dead step"
    shown = desk.lines("dead-letters", "show", "aaaaaaaa")
    assert shown[:3] == [f"message_id: {'a' * 64}", "reason: unknown_task", "queue: money"]


def test_a_beginning_that_two_messages_share_is_refused(desk: Desk) -> None:
    desk.db.run(lambda c: _keep_message(c, "a" * 63 + "b"))
    desk.db.run(lambda c: _keep_message(c, "a" * 63 + "c"))

    result = desk.type(
        "dead-letters", "discard", "aaaaaaaa", "--reason", "old", "--execute", "--operator", "ana"
    )

    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "error: more than one dead message begins with aaaaaaaa"
    assert [m["state"] for m in desk.db.run(lambda c: dead.messages(c, state=None))] == ["dead", "dead"]


def test_discarding_a_message_prints_its_plan_and_acts_only_with_execute(desk: Desk) -> None:
    desk.db.run(lambda c: _keep_message(c, "a" * 64))

    first = desk.type("dead-letters", "discard", "a" * 64, "--reason", "old", "--operator", "ana")
    after_first = desk.db.run(lambda c: dead.message(c, "a" * 64))
    second = desk.type(
        "dead-letters", "discard", "a" * 64, "--reason", "old", "--execute", "--operator", "ana"
    )
    after_second = desk.db.run(lambda c: dead.message(c, "a" * 64))

    assert first.exit_code == second.exit_code == 0
    assert first.stdout.splitlines()[0] == f"message {'a' * 64} (unknown_task), discarded; its bytes are kept"
    assert after_first is not None
    assert after_first["state"] == "dead"
    assert second.stdout == f"{'a' * 64}  discarded\n"
    assert after_second is not None
    assert (after_second["state"], after_second["note"]) == ("discarded", "ana: old")


def test_ledger_balances_sum_to_zero(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, REFUNDED, seconds=10)
    desk.settle_money()

    assert json.loads(desk.type("ledger", "balances", "--json").stdout) == {
        "accounts": [
            {"account": "clearing:stripe", "currency": "EUR", "amount_minor": -4250},
            {"account": "refunds", "currency": "EUR", "amount_minor": 4250},
        ]
    }


def test_db_status_tells_the_revision(desk: Desk) -> None:
    status = json.loads(desk.type("db", "status", "--json").stdout)

    assert status["is_current"] is True
    assert status["revision"] == status["needed"]


def test_a_database_without_a_schema_is_told_with_the_cure(postgres_url: str) -> None:
    bare = Desk(Database(postgres_url))

    listed, status = bare.type("case", "list"), bare.type("db", "status")
    bare.db.close()

    assert (listed.exit_code, listed.stderr.splitlines()) == (
        1,
        ["error: the database's schema is not this release's", "hint: run `refundflow db upgrade`"],
    )
    assert status.exit_code == 1


def test_a_database_that_is_away_ends_with_3() -> None:
    away = Desk(Database("postgresql+psycopg2://nobody@127.0.0.1:1/nothing"))

    result = away.type("case", "list")

    assert result.exit_code == 3
    assert result.stderr.splitlines()[0].startswith("error: PostgreSQL is away: ")


def test_the_case_of_a_dead_step_is_untouched_by_reading(audited: Desk) -> None:
    before = audited.type("audit", "verify", "--json").stdout
    for words in (
        ("case", "show", CASE),
        ("why", CASE),
        ("dead-letters", "show", REFUND),
        ("events", "list"),
    ):
        assert audited.type(*words).exit_code == 0

    assert audited.type("audit", "verify", "--json").stdout == before
    assert audited.step(REFUND).state is StepState.SUCCEEDED


def _keep_message(connection: Any, message_id: str) -> bool:
    return dead.keep_message(
        connection,
        message_id=message_id,
        reason="unknown_task",
        queue="money",
        headers={"task": "refundflow.refund"},
        body=b"[1]",
        content_type="application/json",
        died_at=T0,
    )
