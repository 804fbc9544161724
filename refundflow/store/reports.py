"""Queries for people: what the command line and the console show beside the rows themselves. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from refundflow.store.db import row, rows

#: Tables whose rows the sweep launches when `due_at` has passed.
_DUE_TABLES: Final = ("events", "cases", "steps")


def step_times(connection: Connection, case_id: str) -> dict[str, dict[str, Any]]:
    """By step key: `planned_at`, `ended_at`, `since` (when the step came into its state), `detail`, `is_reserved`.

    A step moves by a run (an attempt's row) or by a person's or the house's word (an audit row), so the latest of both
    is the last time it moved.
    """
    found = rows(
        connection,
        "SELECT s.step_key, s.planned_at, s.ended_at, s.detail, s.is_reserved, s.claimed_by, COALESCE(s.ended_at, GREATEST("
        " (SELECT max(t.at) FROM attempts t WHERE t.step_key = s.step_key),"
        " (SELECT max(u.at) FROM audit u WHERE u.case_id = s.case_id AND u.step_key = s.step_key)), s.planned_at) AS since"
        " FROM steps s WHERE s.case_id = :case_id",
        case_id=case_id,
    )
    return {r["step_key"]: r for r in found}


def approvals_of(connection: Connection, case_id: str) -> list[dict[str, Any]]:
    """What people said about the case's decisions, oldest first."""
    return rows(
        connection,
        "SELECT decision_id, operator, verdict, reason, at FROM approvals WHERE case_id = :case_id ORDER BY id",
        case_id=case_id,
    )


def kept_decision(connection: Connection, decision_id: int) -> Any:
    """A decision as its row holds it, untouched by any type of today: parsed JSON."""
    found = row(connection, "SELECT decision FROM decisions WHERE id = :id", id=decision_id)
    return found["decision"] if found else None


def event(connection: Connection, event_id: int) -> dict[str, Any] | None:
    """One event with everything that was kept of it."""
    return row(connection, "SELECT * FROM events WHERE id = :id", id=event_id)


def events_of_task(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    """The events that a Celery task handled."""
    return rows(
        connection,
        "SELECT id, source, topic, state, case_id, note, handled_at FROM events WHERE task_id = :task_id AND task_id <> ''"
        " ORDER BY id",
        task_id=task_id,
    )


def message_ids(connection: Connection, beginning: str) -> list[str]:
    """Ids of dead messages that begin so, at most two: enough to see whether a beginning is unique."""
    return [
        r["message_id"]
        for r in rows(
            connection,
            "SELECT message_id FROM dead_messages WHERE starts_with(message_id, :beginning) ORDER BY message_id LIMIT 2",
            beginning=beginning,
        )
    ]


def due(connection: Connection, *, now: datetime, overdue_before: datetime) -> list[dict[str, Any]]:
    """Per table: rows that are `due` now, how many of them have been `overdue` since before a time, and the `oldest`.

    Steps of a platform whose credentials are refused are left out, as the sweep leaves them alone.
    """
    found = []
    for table in _DUE_TABLES:
        paused = (
            " AND NOT EXISTS (SELECT 1 FROM connector_health h WHERE h.platform = t.platform AND h.paused_until > :now)"
            if table == "steps"
            else ""
        )
        found += rows(
            connection,
            f"SELECT '{table}' AS rows, count(*) AS due, count(*) FILTER (WHERE t.due_at < :before) AS overdue,"
            f" min(t.due_at) AS oldest FROM {table} t WHERE t.due_at <= :now{paused}",
            now=now,
            before=overdue_before,
        )
    return found


def waiting_for_people(connection: Connection) -> dict[str, int]:
    """How much waits for a person: `dead_steps`, `human_tasks`, `held_cases`, `dead_messages`, `stopped_events`."""
    found = row(
        connection,
        "SELECT (SELECT count(*) FROM steps WHERE state = 'dead_lettered' AND kind <> 'human_task') AS dead_steps,"
        " (SELECT count(*) FROM steps WHERE state = 'dead_lettered' AND kind = 'human_task') AS human_tasks,"
        " (SELECT count(*) FROM cases WHERE state = 'held') AS held_cases,"
        " (SELECT count(*) FROM dead_messages WHERE state = 'dead') AS dead_messages,"
        " (SELECT count(*) FROM events WHERE state IN ('unreadable', 'parked')) AS stopped_events",
    )
    assert found is not None, "an aggregate always has a row"
    return {name: int(count) for name, count in found.items()}


def sources(connection: Connection, names: Sequence[str], *, now: datetime) -> list[dict[str, Any]]:
    """How each source stands, in the order given: `last_event_at`, `events_24h`, `waiting` (not handled yet), `lag_s` (age of the
    oldest of these), `unread` (unreadable or parked in 24 h), `last_trouble` and, where it is polled, `polled_at`, `poll_error`.
    """
    return rows(
        connection,
        "SELECT n.source, l.last_event_at, d.events_24h, w.waiting,"
        " EXTRACT(EPOCH FROM CAST(:now AS timestamptz) - w.oldest)::float AS lag_s, d.unread,"
        " COALESCE(t.note, '') AS last_trouble, p.polled_at, COALESCE(p.last_error, '') AS poll_error"
        " FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS n(source, place)"
        " LEFT JOIN LATERAL (SELECT received_at AS last_event_at FROM events e WHERE e.source = n.source"
        "  ORDER BY received_at DESC LIMIT 1) l ON true"
        " LEFT JOIN LATERAL (SELECT count(*) AS events_24h,"
        "  count(*) FILTER (WHERE e.state IN ('unreadable', 'parked')) AS unread FROM events e"
        "  WHERE e.source = n.source AND e.received_at > CAST(:now AS timestamptz) - interval '24 hours') d ON true"
        " LEFT JOIN LATERAL (SELECT count(*) AS waiting, min(e.received_at) AS oldest FROM events e"
        "  WHERE e.due_at IS NOT NULL AND e.source = n.source) w ON true"
        " LEFT JOIN LATERAL (SELECT e.note FROM events e WHERE e.source = n.source"
        "  AND (e.state IN ('unreadable', 'parked') OR (e.state = 'new' AND e.tries > 0))"
        "  AND e.received_at > CAST(:now AS timestamptz) - interval '24 hours' ORDER BY e.received_at DESC LIMIT 1) t ON true"
        " LEFT JOIN poll_cursors p ON p.platform = n.source ORDER BY n.place",
        names=list(names),
        now=now,
    )
