"""What the database itself promises, whatever the code above it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import IntegrityError

from refundflow.domain.ids import CaseId
from refundflow.domain.money import Money
from refundflow.domain.policy import Wanted
from refundflow.domain.states import STEP_MOVES, CaseState, StepState
from refundflow.domain.steps import Move, Step
from refundflow.store import audit, cases, dead, ledger, payments, steps
from refundflow.store.cases import Case
from refundflow.store.db import Database, current_revision, execute, head_revision, rows, upgrade
from refundflow.store.steps import Claim, Ending
from tests.integration.cli.desk import CANCEL, CASE, REFUND, T0, Desk, at
from tests.support.drive import at_once
from tests.support.practice import empty, fresh_database

pytestmark = pytest.mark.integration

PAYMENT = "stripe:pi_1"


@pytest.fixture(scope="module")
def store_db(migrated_server: Engine) -> Iterator[Database]:
    with fresh_database(migrated_server) as database:
        yield database


@pytest.fixture
def desk(store_db: Database) -> Desk:
    """One approved case: cancel an order, refund 42.50 EUR."""
    empty(store_db)
    desk = Desk(store_db)
    desk.open_case()
    return desk


def refuse(desk: Desk, sql: str, why: str) -> None:
    """The statement must be refused by the database, for that reason."""
    with pytest.raises(IntegrityError, match=why):
        desk.db.run(lambda connection: execute(connection, sql))


def claim(desk: Desk, key: str, token: str, *, seconds: float = 0.0, lease_s: float = 90.0) -> Step | None:
    def work(connection: Connection) -> Step | None:
        step = steps.load(connection, key)
        assert step is not None
        by = Claim(token, "task", "worker")
        return steps.claim(connection, step, Move.SEND, by, now=at(seconds), lease_s=lease_s)

    return desk.db.run(work)


# ---------------------------------------------------------------- constraints


@pytest.mark.parametrize(
    ("name", "sql", "why"),
    [
        ("reserved_too_much", "UPDATE payments SET reserved = 4251", "money_out_within_captured"),
        ("settled_too_much", "UPDATE payments SET settled = 1", "money_out_within_captured"),
        ("captured_shrinks", "UPDATE payments SET captured = 4249", "money_out_within_captured"),
        ("reserved_below_zero", "UPDATE payments SET reserved = -1", "payments_reserved_check"),
        ("settled_below_zero", "UPDATE payments SET settled = -1", "payments_settled_check"),
        ("dispute_unknown", "UPDATE payments SET dispute = 'maybe'", "payments_dispute_check"),
        ("step_state_unknown", "UPDATE steps SET state = 'failed'", "steps_state_check"),
        ("step_kind_unknown", "UPDATE steps SET kind = 'pray'", "steps_kind_check"),
        ("amount_below_zero", "UPDATE steps SET amount_minor = -1", "steps_amount_minor_check"),
        ("in_flight_without_lease", "UPDATE steps SET state = 'in_flight', due_at = now()", "steps_check"),
        ("lease_without_flight", "UPDATE steps SET lease_until = now()", "steps_check"),
        ("unknown_without_time", "UPDATE steps SET state = 'unknown', due_at = NULL", "steps_check"),
        ("pending_without_time", "UPDATE steps SET state = 'pending', due_at = NULL", "steps_check"),
        ("retry_without_time", "UPDATE steps SET state = 'retry_scheduled', due_at = NULL", "steps_check"),
        ("ended_but_due", "UPDATE steps SET state = 'succeeded', due_at = now()", "steps_check"),
        ("skipped_but_due", "UPDATE steps SET state = 'skipped', due_at = now()", "steps_check"),
        ("case_state_unknown", "UPDATE cases SET state = 'done'", "cases_state_check"),
        ("complete_but_open", "UPDATE cases SET state = 'complete', closed_at = NULL", "cases_check"),
        ("running_but_closed", "UPDATE cases SET closed_at = now()", "cases_check"),
        ("event_state_unknown", "UPDATE events SET state = 'lost'", "events_state_check"),
        ("new_event_never_due", "UPDATE events SET state = 'new', due_at = NULL", "events_check"),
        ("handled_event_due", "UPDATE events SET due_at = now()", "events_check"),
        ("step_of_no_case", f"UPDATE steps SET case_id = 'RF-X' WHERE step_key = '{REFUND}'", "foreign key"),
        (
            "step_of_no_payment",
            f"UPDATE steps SET payment_id = 'x' WHERE step_key = '{REFUND}'",
            "foreign key",
        ),
    ],
)
def test_a_row_that_cannot_be_true_is_refused(desk: Desk, name: str, sql: str, why: str) -> None:
    refuse(desk, sql, why)


def test_the_same_step_key_is_planned_once(desk: Desk) -> None:
    with pytest.raises(IntegrityError, match="steps_pkey"):
        desk.db.run(lambda c: steps.insert(c, [desk.step(REFUND)], first_number=90, now=T0))


def test_twenty_sources_at_the_same_moment_open_one_case(desk: Desk) -> None:
    def open_one(number: int) -> tuple[Case, bool]:
        return desk.db.run(
            lambda c: cases.open_or_join(
                c,
                case_id=CaseId(f"RF-{number:02d}"),
                platform="shopify",
                order_id="7007",
                order_number="#7007",
                wanted=Wanted(),
                requested_by="",
                now=T0,
            )
        )

    opened = at_once(20, open_one)
    assert sorted(is_new for _, is_new in opened) == [False] * 19 + [True]
    assert len({case.case_id for case, _ in opened}) == 1


def test_a_second_open_case_about_an_order_is_refused_and_a_closed_one_does_not_stand_in_its_way(
    desk: Desk,
) -> None:
    insert = (
        "INSERT INTO cases (case_id, platform, order_id, state, wanted, opened_at, closed_at)"
        " VALUES ('{0}', 'shopify', '5001', '{1}', '{{}}', now(), {2})"
    )
    refuse(desk, insert.format("RF-2", "held", "NULL"), "one_open_case_per_order")
    assert desk.db.run(lambda c: execute(c, insert.format("RF-3", "declined", "now()"))) == 1


def test_one_refund_of_a_payment_is_in_flight_at_a_time(desk: Desk) -> None:
    second = f"{CASE}.refund.2"
    copied = (
        "INSERT INTO steps (step_key, case_id, number, kind, action, platform, command, state, needs, follows, uses, wave,"
        f" amount_minor, currency, payment_id, planned_at) SELECT '{second}', case_id, 91, kind, action, platform, command,"
        f" state, needs, follows, uses, wave, 0, currency, payment_id, planned_at FROM steps WHERE step_key = '{REFUND}'"
    )
    desk.db.run(lambda c: execute(c, copied))
    got = at_once(2, lambda n: claim(desk, (REFUND, second)[n], f"t{n}"))
    assert sorted(x is not None for x in got) == [False, True]
    refuse(
        desk,
        "UPDATE steps SET state = 'in_flight', lease_until = now(), due_at = now() WHERE kind = 'refund'",
        "one_refund_in_flight_per_payment",
    )


@pytest.mark.parametrize("target", [s for s in StepState if s not in STEP_MOVES[StepState.SUCCEEDED]])
def test_a_move_that_does_not_exist_is_refused_before_the_database(desk: Desk, target: StepState) -> None:
    desk.run_step(CANCEL, Ending(StepState.SUCCEEDED, "done"), seconds=0)
    step = desk.step(CANCEL)
    with pytest.raises(ValueError, match="no move from"):
        desk.db.run(lambda c: steps.move(c, step, target, code="", reason="", now=T0))


def test_a_move_on_what_was_read_before_changes_nothing_when_the_step_moved_meanwhile(desk: Desk) -> None:
    stale = desk.step(CANCEL)
    assert claim(desk, CANCEL, "t1") is not None
    moved = desk.db.run(lambda c: steps.move(c, stale, StepState.SKIPPED, code="", reason="", now=T0))
    assert moved is False
    assert desk.step(CANCEL).state is StepState.IN_FLIGHT


def test_a_case_that_was_declined_stays_so(desk: Desk) -> None:
    def work(connection: Connection) -> None:
        case = cases.load(connection, CASE, lock=True)
        assert case is not None
        cases.move(connection, case, CaseState.DECLINED, why="no", now=T0)
        declined = cases.load(connection, CASE)
        assert declined is not None
        cases.move(connection, declined, CaseState.RUNNING, why="yes", now=T0)

    with pytest.raises(ValueError, match="no move from"):
        desk.db.run(work)
    assert desk.db.run(lambda c: cases.load(c, CASE)).state is CaseState.RUNNING  # type: ignore[union-attr]  # it is there


# ---------------------------------------------------------------- the journal


def _entry(connection: Connection, *lines: tuple[str, str, int]) -> None:
    made = rows(
        connection,
        "INSERT INTO journal_entries (case_id, step_key, kind, at, memo)"
        f" VALUES ('{CASE}', '{REFUND}', 'refund', now(), '') RETURNING id",
    )
    for account, currency, minor in lines:
        execute(
            connection,
            "INSERT INTO journal_lines VALUES (:id, :account, :currency, :minor)",
            id=made[0]["id"],
            account=account,
            currency=currency,
            minor=minor,
        )


@pytest.mark.parametrize(
    ("name", "lines", "why"),
    [
        ("no_lines", (), "needs two or more"),
        ("one_line", (("refunds", "EUR", 10),), "needs two or more"),
        ("lopsided", (("refunds", "EUR", 10), ("clearing", "EUR", -9)), "does not balance"),
        ("currencies_mixed", (("refunds", "EUR", 10), ("clearing", "USD", -10)), "does not balance"),
        ("a_line_of_nothing", (("refunds", "EUR", 0), ("clearing", "EUR", 0)), "amount_minor_check"),
    ],
)
def test_an_entry_that_does_not_balance_is_refused_at_the_commit(
    desk: Desk, name: str, lines: tuple[tuple[str, str, int], ...], why: str
) -> None:
    with pytest.raises(IntegrityError, match=why):
        desk.db.run(lambda c: _entry(c, *lines))
    assert desk.db.run(ledger.balances) == [], name


def test_a_line_added_later_to_a_balanced_entry_is_refused(desk: Desk) -> None:
    desk.run_step(REFUND, Ending(StepState.SUCCEEDED, "done", reference="re_1"), seconds=0)
    desk.settle_money()
    refuse(
        desk,
        "INSERT INTO journal_lines SELECT id, 'gift', 'EUR', 5 FROM journal_entries",
        "does not balance",
    )


def test_a_refund_is_booked_once_however_often_it_is_told(desk: Desk) -> None:
    def book(_: int) -> bool:
        return desk.db.run(
            lambda c: ledger.book_refund(
                c,
                case_id=CASE,
                step_key=REFUND,
                platform="stripe",
                amount=Money(4250, "EUR"),
                now=T0,
                memo="",
            )
        )

    assert sorted(at_once(4, book)) == [False, False, False, True]
    assert {r["account"]: r["amount_minor"] for r in desk.db.run(ledger.balances)} == {
        "refunds": 4250,
        "clearing:stripe": -4250,
    }


@pytest.mark.parametrize("table", ["attempts", "audit", "journal_entries", "journal_lines"])
@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
def test_words_that_stay_cannot_be_changed_dropped_or_emptied(desk: Desk, table: str, change: str) -> None:
    desk.run_step(REFUND, Ending(StepState.SUCCEEDED, "done", reference="re_1"), seconds=0)
    desk.settle_money()
    column = "entry_id" if table == "journal_lines" else "case_id"
    refuse(desk, change.format(table, column), "is append-only")


# ---------------------------------------------------------------- the audit


def _tamper(desk: Desk, *statements: str) -> None:
    """What somebody with the database's own power could do: the triggers are off."""

    def work(connection: Connection) -> None:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            assert execute(connection, statement) > 0

    desk.db.run(work)


_LAST = f"(SELECT max(chain_no) FROM {{0}} WHERE case_id = '{CASE}')"


@pytest.mark.parametrize("table", ["audit", "attempts"])
@pytest.mark.parametrize(
    ("name", "statements", "row", "what"),
    [
        (
            "changed",
            ["UPDATE {0} SET {1} = 'x' WHERE case_id = :case AND chain_no = 2"],
            2,
            "row 2 was changed",
        ),
        ("dropped", ["DELETE FROM {0} WHERE case_id = :case AND chain_no = 2"], 2, "row 2 is missing"),
        (
            "reordered",
            [
                "UPDATE {0} SET chain_no = 99 WHERE case_id = :case AND chain_no = 1",
                "UPDATE {0} SET chain_no = 1 WHERE case_id = :case AND chain_no = 2",
                "UPDATE {0} SET chain_no = 2 WHERE case_id = :case AND chain_no = 99",
            ],
            1,
            "row 1 does not follow row 0",
        ),
        (
            "first_row_cut",
            ["DELETE FROM {0} WHERE case_id = :case AND chain_no = 1"],
            1,
            "row 1 is missing",
        ),
        (
            "head_gone",
            ["DELETE FROM chain_heads WHERE chain = '{0}:' || :case"],
            None,
            "the chain's head is gone",
        ),
        ("whole_chain_gone", ["DELETE FROM {0} WHERE case_id = :case"], 1, "the whole chain is gone"),
    ],
)
def test_the_audit_finds_where_somebody_was_at_it(
    desk: Desk, table: str, name: str, statements: list[str], row: int | None, what: str
) -> None:
    for key in (CANCEL, REFUND):
        desk.run_step(key, Ending(StepState.SUCCEEDED, "done"), seconds=0)
    assert desk.db.run(audit.verify).first_break is None
    column = {"audit": "actor", "attempts": "worker"}[table]
    _tamper(desk, *(s.format(table, column).replace(":case", f"'{CASE}'") for s in statements))
    found = desk.db.run(audit.verify).first_break
    assert found is not None, name
    assert (found.table, found.case_id) == (table, CASE)
    assert found.what.startswith(what)
    assert row is None or found.row == row


@pytest.mark.parametrize("table", ["audit", "attempts"])
def test_the_audit_finds_a_tail_that_was_cut_off(desk: Desk, table: str) -> None:
    desk.run_step(CANCEL, Ending(StepState.SUCCEEDED, "done"), seconds=0)
    last = rows_of(desk, f"SELECT max(chain_no) AS n FROM {table} WHERE case_id = '{CASE}'")[0]["n"]
    _tamper(desk, f"DELETE FROM {table} WHERE case_id = '{CASE}' AND chain_no = {last}")
    found = desk.db.run(audit.verify).first_break
    assert found is not None
    assert (found.table, found.row) == (table, last)
    assert f"(the head says {last})" in found.what


def test_the_audit_misses_a_case_whose_every_trace_is_gone_by_its_name(desk: Desk) -> None:
    _tamper(
        desk,
        f"DELETE FROM audit WHERE case_id = '{CASE}'",
        f"DELETE FROM chain_heads WHERE chain = 'audit:{CASE}'",
    )
    found = desk.db.run(audit.verify).first_break
    assert found is not None
    assert (found.case_id, found.what) == (CASE, "the case was opened and has no audit any more")


def test_a_rewritten_chain_shows_in_the_root_that_was_kept_elsewhere(desk: Desk) -> None:
    before = desk.db.run(audit.verify)
    desk.db.run(lambda c: audit.write(c, CASE, "case.noted", now=T0, actor="bo"))
    after = desk.db.run(audit.verify)
    assert (before.first_break, after.first_break) == (None, None)
    assert after.rows == before.rows + 1
    assert after.root != before.root


def test_entries_written_at_the_same_moment_make_one_unbroken_chain(desk: Desk) -> None:
    at_once(8, lambda n: desk.db.run(lambda c: audit.write(c, CASE, "x", now=T0, actor=str(n))))
    verdict = desk.db.run(audit.verify)
    assert verdict.first_break is None
    numbers = [r["chain_no"] for r in desk.db.run(lambda c: audit.of_case(c, CASE))]
    assert numbers == list(range(1, len(numbers) + 1))


# ---------------------------------------------------------------- claims


def test_of_eight_workers_that_claim_a_step_one_gets_it(desk: Desk) -> None:
    step = desk.step(CANCEL)

    def work(number: int) -> Step | None:
        by = Claim(f"t{number}", f"task-{number}", "w")
        return desk.db.run(lambda c: steps.claim(c, step, Move.SEND, by, now=T0, lease_s=90))

    won = [x for x in at_once(6, work) if x is not None]
    assert len(won) == 1
    assert won[0].attempts == 1
    assert [a["phase"] for a in desk.db.run(lambda c: steps.attempts_of(c, CANCEL))] == ["claimed"]


def test_a_worker_whose_lease_ran_out_writes_nothing(desk: Desk) -> None:
    slow = claim(desk, REFUND, "slow", lease_s=10)
    fast = claim(desk, REFUND, "fast", seconds=20)
    assert slow is not None
    assert fast is not None
    assert fast.crashes == 1
    done = Ending(StepState.SUCCEEDED, "done", reference="re_slow")

    def record(connection: Connection, token: str, ending: Ending) -> bool:
        by = Claim(token, "task", "worker")
        return steps.record(connection, slow, ending, Move.SEND, by, now=at(30), exchanges=())

    assert desk.db.run(lambda c: record(c, "slow", done)) is False
    assert desk.step(REFUND).state is StepState.IN_FLIGHT
    assert desk.step(REFUND).reference == ""
    ours = Ending(StepState.SUCCEEDED, "done", reference="re_fast")
    assert desk.db.run(lambda c: record(c, "fast", ours)) is True
    assert desk.db.run(lambda c: record(c, "fast", ours)) is False
    assert desk.step(REFUND).reference == "re_fast"
    told = [(a["token"], a["phase"]) for a in desk.db.run(lambda c: steps.attempts_of(c, REFUND))]
    assert told == [("slow", "claimed"), ("fast", "claimed"), ("fast", "ended")]


def test_a_refund_is_not_claimed_for_sending_while_a_dispute_holds_its_payment(desk: Desk) -> None:
    desk.db.run(
        lambda c: payments.set_dispute(c, "stripe", "pi_1", dispute="open", dispute_reference="dp_1", now=T0)
    )
    assert claim(desk, REFUND, "t1") is None
    assert desk.step(REFUND).state is StepState.PLANNED


def test_a_late_word_about_a_disputes_beginning_does_not_open_it_again(desk: Desk) -> None:
    def say(state: str) -> str:
        desk.db.run(
            lambda c: payments.set_dispute(c, "stripe", "pi_1", dispute=state, dispute_reference="d", now=T0)
        )
        return str(rows_of(desk, "SELECT dispute FROM payments")[0]["dispute"])

    assert [say(s) for s in ("warning", "open", "warning", "lost", "open")] == [
        "warning",
        "open",
        "open",
        "lost",
        "lost",
    ]


def test_dead_steps_are_found_by_what_they_died_of(desk: Desk) -> None:
    ended = Ending(StepState.DEAD_LETTERED, "permanent", code="charge_expired", reason="too old")
    desk.run_step(REFUND, ended, seconds=0)
    found = desk.db.run(lambda c: dead.dead_steps(c, code="charge_expired"))
    assert [r["step_key"] for r in found] == [REFUND]
    assert desk.db.run(lambda c: dead.dead_steps(c, code="other")) == []


# ---------------------------------------------------------------- transactions and migrations


def test_a_transaction_whose_connection_is_killed_is_run_again_and_counts_once(desk: Desk) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        audit.write(connection, CASE, "case.noted", now=T0, actor="bo")
        if not tries:
            tries.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            _kill(desk.db, tries[0])
            connection.execute(text("SELECT 1"))
        tries.append(0)

    desk.db.run(work)
    assert len(tries) == 2
    noted = [r for r in desk.db.run(lambda c: audit.of_case(c, CASE)) if r["event"] == "case.noted"]
    assert len(noted) == 1
    assert desk.db.run(audit.verify).first_break is None


def test_a_connection_killed_while_it_was_idle_is_replaced(desk: Desk) -> None:
    lone = Database(desk.db.url, pool_size=1)
    pid = lone.run(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one())
    _kill(desk.db, pid)
    assert lone.run(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one()) != pid
    lone.close()


def _kill(db: Database, pid: int) -> None:
    admin = create_engine(db.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        assert connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar_one()
    admin.dispose()


def test_what_is_the_callers_fault_is_raised_at_once_and_rolled_back(desk: Desk) -> None:
    runs: list[int] = []

    def work(connection: Connection) -> None:
        runs.append(1)
        audit.write(connection, CASE, "case.noted", now=T0, actor="bo")
        execute(connection, "UPDATE payments SET reserved = 99999")

    with pytest.raises(IntegrityError):
        desk.db.run(work)
    assert len(runs) == 1
    assert "case.noted" not in [r["event"] for r in desk.db.run(lambda c: audit.of_case(c, CASE))]


def test_migrating_from_four_hosts_at_once_and_once_more_gives_one_schema(migrated_server: Engine) -> None:
    with migrated_server.connect() as connection:
        connection.execute(text("CREATE DATABASE refundflow_fresh"))
    url = migrated_server.url.set(database="refundflow_fresh").render_as_string(hide_password=False)
    hosts = [Database(url, pool_size=1) for _ in range(4)]
    try:
        assert hosts[0].run(current_revision) is None
        assert at_once(4, lambda n: upgrade(hosts[n])) == [head_revision()] * 4
        assert upgrade(hosts[0]) == head_revision()
        assert hosts[1].run(current_revision) == head_revision()
        marks = hosts[2].run(lambda c: rows(c, "SELECT version_num FROM alembic_version"))
        assert marks == [{"version_num": head_revision()}]
    finally:
        for host in hosts:
            host.close()
        with migrated_server.connect() as connection:
            connection.execute(text("DROP DATABASE refundflow_fresh WITH (FORCE)"))


def rows_of(desk: Desk, sql: str) -> list[dict[str, Any]]:
    return desk.db.run(lambda connection: rows(connection, sql))
