"""Cases: one open case per order, whatever the sources; with facts, decisions and approvals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from refundflow.domain.facts import Facts
from refundflow.domain.ids import CaseId
from refundflow.domain.plan import Routing
from refundflow.domain.policy import Decision, Policy, Wanted
from refundflow.domain.states import CASE_MOVES, OPEN_CASES, CaseState
from refundflow.store.codec import from_json, to_json
from refundflow.store.db import execute, row, rows


@dataclass(frozen=True, slots=True)
class Case:
    """One case as its row stands. `why`: what made the state, for people."""

    case_id: CaseId
    platform: str
    order_id: str
    order_number: str
    state: CaseState
    wanted: Wanted
    why: str
    requested_by: str
    opened_at: datetime
    closed_at: datetime | None
    facts_id: int | None
    decision_id: int | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_CASES


_COLUMNS = (
    "case_id, platform, order_id, order_number, state, wanted, why, requested_by, opened_at, closed_at, facts_id,"
    " decision_id"
)


def load(connection: Connection, case_id: str, *, lock: bool = False) -> Case | None:
    """One case; `lock`: for update (the first lock that a transaction takes)."""
    sql = f"SELECT {_COLUMNS} FROM cases WHERE case_id = :case_id"
    return _case(row(connection, sql + " FOR UPDATE" if lock else sql, case_id=case_id))


def open_or_join(
    connection: Connection,
    *,
    case_id: CaseId,
    platform: str,
    order_id: str,
    order_number: str,
    wanted: Wanted,
    requested_by: str,
    now: datetime,
) -> tuple[Case, bool]:
    """The order's one open case, locked; a new one where there is none. Returns the case and whether it is new.

    The partial unique index decides between two sources that come at the same moment; nothing is merged here.
    """
    made = execute(
        connection,
        "INSERT INTO cases (case_id, platform, order_id, order_number, state, wanted, requested_by, opened_at)"
        " VALUES (:case_id, :platform, :order_id, :order_number, 'running', CAST(:wanted AS jsonb), :requested_by, :now)"
        " ON CONFLICT (platform, order_id) WHERE closed_at IS NULL DO NOTHING",
        case_id=case_id,
        platform=platform,
        order_id=order_id,
        order_number=order_number,
        wanted=to_json(wanted),
        requested_by=requested_by,
        now=now,
    )
    found = _case(
        row(
            connection,
            f"SELECT {_COLUMNS} FROM cases WHERE platform = :platform AND order_id = :order_id AND closed_at IS NULL FOR UPDATE",
            platform=platform,
            order_id=order_id,
        )
    )
    assert found is not None, "inserted or conflicting, it is there"
    return found, made == 1


def latest_of_order(connection: Connection, platform: str, order_id: str) -> Case | None:
    """The order's newest case, open or closed."""
    return _case(
        row(
            connection,
            f"SELECT {_COLUMNS} FROM cases WHERE platform = :platform AND order_id = :order_id"
            " ORDER BY opened_at DESC, case_id DESC LIMIT 1",
            platform=platform,
            order_id=order_id,
        )
    )


def other_open(connection: Connection, case: Case) -> CaseId | None:
    """The order's open case, where that is another one than this."""
    found = row(
        connection,
        "SELECT case_id FROM cases WHERE platform = :platform AND order_id = :order_id AND closed_at IS NULL"
        " AND case_id <> :case_id",
        platform=case.platform,
        order_id=case.order_id,
        case_id=case.case_id,
    )
    return CaseId(found["case_id"]) if found else None


def add_source(
    connection: Connection, case_id: str, event_id: int, *, source: str, how: str, now: datetime
) -> None:
    """Lists an event among the case's sources. `how`: opened | joined | echo | reopened."""
    execute(
        connection,
        "INSERT INTO case_sources (case_id, event_id, source, how, joined_at)"
        " VALUES (:case_id, :event_id, :source, :how, :now) ON CONFLICT DO NOTHING",
        case_id=case_id,
        event_id=event_id,
        source=source,
        how=how,
        now=now,
    )


def sources(connection: Connection, case_id: str) -> list[dict[str, Any]]:
    return rows(
        connection,
        "SELECT s.event_id, s.source, s.how, s.joined_at, e.topic, e.is_verified FROM case_sources s"
        " JOIN events e ON e.id = s.event_id WHERE s.case_id = :case_id ORDER BY s.joined_at, s.event_id",
        case_id=case_id,
    )


def set_wanted(connection: Connection, case_id: str, wanted: Wanted) -> None:
    execute(
        connection,
        "UPDATE cases SET wanted = CAST(:wanted AS jsonb) WHERE case_id = :case_id",
        case_id=case_id,
        wanted=to_json(wanted),
    )


def set_order(connection: Connection, case_id: str, *, order_id: str, order_number: str) -> None:
    """Names the order once it is found (a case may open with no more than the number a person typed)."""
    execute(
        connection,
        "UPDATE cases SET order_id = :order_id, order_number = :order_number WHERE case_id = :case_id",
        case_id=case_id,
        order_id=order_id,
        order_number=order_number,
    )


def move(
    connection: Connection,
    case: Case,
    state: CaseState,
    *,
    why: str,
    now: datetime,
    due_at: datetime | None = None,
) -> bool:
    """Moves a locked case. False where it is there already (only `why` and `due_at` are written then).

    Raises ValueError for a move that does not exist: a bug, never data.
    """
    if state is not case.state and state not in CASE_MOVES[case.state]:
        raise ValueError(f"{case.case_id}: no move from {case.state} to {state}")
    execute(
        connection,
        "UPDATE cases SET state = :state, why = :why, due_at = :due_at,"
        " closed_at = CASE WHEN :is_open THEN NULL ELSE COALESCE(closed_at, :now) END WHERE case_id = :case_id",
        case_id=case.case_id,
        state=state.value,
        why=why,
        due_at=due_at,
        is_open=state in OPEN_CASES,
        now=now,
    )
    return state is not case.state


def wake(connection: Connection, case_id: str, due_at: datetime | None) -> None:
    """When the sweep should settle the case, should nobody else do it before."""
    execute(
        connection,
        "UPDATE cases SET due_at = :due_at WHERE case_id = :case_id",
        case_id=case_id,
        due_at=due_at,
    )


def take_due(connection: Connection, *, now: datetime, again: datetime, limit: int) -> list[CaseId]:
    """Cases whose settling is overdue; due again at `again`, in case their message is lost."""
    return [
        CaseId(r["case_id"])
        for r in rows(
            connection,
            "UPDATE cases SET due_at = :again WHERE case_id IN (SELECT case_id FROM cases WHERE due_at <= :now"
            " ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING case_id",
            now=now,
            again=again,
            limit=limit,
        )
    ]


def keep_facts(connection: Connection, case_id: str, facts: Facts) -> int:
    """Stores a snapshot; returns its number."""
    kept = row(
        connection,
        "INSERT INTO facts (case_id, read_at, facts) VALUES (:case_id, :read_at, CAST(:facts AS jsonb)) RETURNING id",
        case_id=case_id,
        read_at=facts.read_at,
        facts=to_json(facts),
    )
    assert kept is not None
    return int(kept["id"])


def load_facts(connection: Connection, facts_id: int) -> Facts:
    found = row(connection, "SELECT facts FROM facts WHERE id = :id", id=facts_id)
    assert found is not None
    return from_json(found["facts"], Facts)


def keep_decision(
    connection: Connection,
    case_id: str,
    *,
    facts_id: int,
    wanted: Wanted,
    policy: Policy,
    routing: Routing,
    approved_by: str,
    decision: Decision,
    now: datetime,
) -> int:
    """Stores a decision with all its inputs, so that it can be computed again; makes it the case's current one."""
    kept = row(
        connection,
        "WITH made AS (INSERT INTO decisions (case_id, facts_id, wanted, policy, routing, approved_by, decision, decided_at)"
        " VALUES (:case_id, :facts_id, CAST(:wanted AS jsonb), CAST(:policy AS jsonb), CAST(:routing AS jsonb), :approved_by,"
        " CAST(:decision AS jsonb), :now) RETURNING id)"
        " UPDATE cases SET facts_id = :facts_id, decision_id = (SELECT id FROM made) WHERE case_id = :case_id"
        " RETURNING decision_id",
        case_id=case_id,
        facts_id=facts_id,
        wanted=to_json(wanted),
        policy=to_json(policy),
        routing=to_json(routing),
        approved_by=approved_by,
        decision=to_json(decision),
        now=now,
    )
    assert kept is not None
    return int(kept["decision_id"])


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision and what it was made from."""

    decision_id: int
    facts: Facts
    wanted: Wanted
    policy: Policy
    routing: Routing
    approved_by: str
    decision: Decision
    decided_at: datetime


def load_decision(connection: Connection, decision_id: int) -> KeptDecision:
    found = row(
        connection,
        "SELECT d.id, f.facts, d.wanted, d.policy, d.routing, d.approved_by, d.decision, d.decided_at"
        " FROM decisions d JOIN facts f ON f.id = d.facts_id WHERE d.id = :id",
        id=decision_id,
    )
    assert found is not None
    return KeptDecision(
        decision_id=found["id"],
        facts=from_json(found["facts"], Facts),
        wanted=from_json(found["wanted"], Wanted),
        policy=from_json(found["policy"], Policy),
        routing=from_json(found["routing"], Routing),
        approved_by=found["approved_by"],
        decision=from_json(found["decision"], Decision),
        decided_at=found["decided_at"],
    )


def decisions_of(connection: Connection, case_id: str) -> list[int]:
    """The numbers of the case's decisions, oldest first."""
    return [
        r["id"]
        for r in rows(connection, "SELECT id FROM decisions WHERE case_id = :c ORDER BY id", c=case_id)
    ]


def approve(
    connection: Connection, case: Case, *, operator: str, verdict: str, reason: str, now: datetime
) -> bool:
    """Records a person's word on the current decision. False when somebody's word is there already."""
    return (
        execute(
            connection,
            "INSERT INTO approvals (case_id, decision_id, operator, verdict, reason, at)"
            " VALUES (:case_id, :decision_id, :operator, :verdict, :reason, :now) ON CONFLICT (decision_id) DO NOTHING",
            case_id=case.case_id,
            decision_id=case.decision_id,
            operator=operator,
            verdict=verdict,
            reason=reason,
            now=now,
        )
        == 1
    )


def listing(
    connection: Connection, *, state: str | None, order: str | None, limit: int
) -> list[dict[str, Any]]:
    """Cases for people, newest first, with how their steps stand."""
    return rows(
        connection,
        "SELECT c.case_id, c.order_number, c.platform, c.state, c.why, c.opened_at, c.closed_at, count(s.step_key) AS steps,"
        " count(s.step_key) FILTER (WHERE s.state IN ('succeeded', 'skipped', 'reversed')) AS done,"
        " count(s.step_key) FILTER (WHERE s.state = 'dead_lettered') AS dead,"
        " COALESCE(sum(s.amount_minor) FILTER (WHERE s.kind = 'refund' AND s.state = 'succeeded'), 0)::bigint AS refunded,"
        " max(s.currency) AS currency"
        " FROM cases c LEFT JOIN steps s ON s.case_id = c.case_id"
        " WHERE (CAST(:state AS text) IS NULL OR c.state = :state)"
        " AND (CAST(:order AS text) IS NULL OR c.order_number = :order OR c.order_number = '#' || :order OR c.order_id = :order)"
        " GROUP BY c.case_id ORDER BY c.opened_at DESC, c.case_id DESC LIMIT :limit",
        state=state,
        order=order,
        limit=limit,
    )


def _case(found: dict[str, Any] | None) -> Case | None:
    if found is None:
        return None
    return Case(
        case_id=CaseId(found["case_id"]),
        platform=found["platform"],
        order_id=found["order_id"],
        order_number=found["order_number"],
        state=CaseState(found["state"]),
        wanted=from_json(found["wanted"], Wanted),
        why=found["why"],
        requested_by=found["requested_by"],
        opened_at=found["opened_at"],
        closed_at=found["closed_at"],
        facts_id=found["facts_id"],
        decision_id=found["decision_id"],
    )
