"""The inbox: every delivery as it came, once per (source, the source's own event id)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from refundflow.domain.ids import EventId
from refundflow.store.codec import dump
from refundflow.store.db import execute, row, rows


@dataclass(frozen=True, slots=True)
class InboundEvent:
    """One stored delivery. `state`: new | handled | ignored | unreadable | parked."""

    event_id: EventId
    source: str
    source_event_id: str
    topic: str
    body: bytes
    is_verified: bool
    received_at: datetime
    state: str
    case_id: str
    note: str
    tries: int


@dataclass(frozen=True, slots=True)
class Stored:
    """`is_new`: False when the same delivery was stored before; then `body` is what came first."""

    event_id: EventId
    is_new: bool
    body: bytes
    case_id: str = ""


def insert(
    connection: Connection,
    *,
    source: str,
    source_event_id: str,
    topic: str,
    headers: dict[str, str],
    body: bytes,
    is_verified: bool,
    now: datetime,
    unreadable: str = "",
    first_due_s: float = 10.0,
) -> Stored:
    """Stores a delivery unless it is there already.

    `first_due_s`: after so many seconds the sweep takes it up, if the message that the caller publishes never arrives.
    `unreadable`: why a verified body cannot be read; it is kept all the same, for a person.
    """
    state = "unreadable" if unreadable else "new"
    new = row(
        connection,
        "INSERT INTO events (source, source_event_id, topic, headers, body, is_verified, received_at, state, due_at, note)"
        " VALUES (:source, :source_event_id, :topic, CAST(:headers AS jsonb), :body, :is_verified, :now, :state, :due, :note)"
        " ON CONFLICT (source, source_event_id) DO NOTHING RETURNING id",
        source=source,
        source_event_id=source_event_id,
        topic=topic,
        headers=dump(headers),
        body=body,
        is_verified=is_verified,
        now=now,
        state=state,
        due=None if unreadable else now + timedelta(seconds=first_due_s),
        note=unreadable,
    )
    if new is not None:
        return Stored(EventId(new["id"]), True, body)
    old = row(
        connection,
        "SELECT id, body, case_id FROM events WHERE source = :source AND source_event_id = :source_event_id",
        source=source,
        source_event_id=source_event_id,
    )
    assert old is not None, "a conflicting row was committed before"
    return Stored(EventId(old["id"]), False, bytes(old["body"]), old["case_id"] or "")


def load(connection: Connection, event_id: int, *, lock: bool = False) -> InboundEvent | None:
    """One event. `lock`: for update, so that two workers do not handle it at once."""
    found = row(
        connection,
        "SELECT id, source, source_event_id, topic, body, is_verified, received_at, state, case_id, note, tries"
        " FROM events WHERE id = :id" + (" FOR UPDATE" if lock else ""),
        id=event_id,
    )
    return _event(found) if found else None


def finish(
    connection: Connection,
    event_id: int,
    *,
    state: str,
    case_id: str | None,
    note: str,
    task_id: str,
    now: datetime,
) -> bool:
    """Marks a new event as handled, ignored, unreadable or parked. False when somebody else did before."""
    return (
        execute(
            connection,
            "UPDATE events SET state = :state, due_at = NULL, case_id = COALESCE(:case_id, case_id), note = :note,"
            " task_id = :task_id, handled_at = :now WHERE id = :id AND state = 'new'",
            id=event_id,
            state=state,
            case_id=case_id,
            note=note,
            task_id=task_id,
            now=now,
        )
        == 1
    )


def postpone(connection: Connection, event_id: int, *, due_at: datetime, note: str) -> None:
    """The event could not be handled now; the sweep takes it up again."""
    execute(
        connection,
        "UPDATE events SET due_at = :due_at, note = :note, tries = tries + 1 WHERE id = :id AND state = 'new'",
        id=event_id,
        due_at=due_at,
        note=note,
    )


def reopen(connection: Connection, event_id: int, *, due_at: datetime) -> bool:
    """Hands an unreadable or parked event in again (after the cause was mended)."""
    return (
        execute(
            connection,
            "UPDATE events SET state = 'new', due_at = :due_at, tries = 0 WHERE id = :id AND state IN ('unreadable', 'parked')",
            id=event_id,
            due_at=due_at,
        )
        == 1
    )


def take_due(connection: Connection, *, now: datetime, again_s: float, limit: int) -> list[EventId]:
    """Events whose time has come; they are due again in `again_s`, in case their message is lost."""
    return [
        EventId(r["id"])
        for r in rows(
            connection,
            "UPDATE events SET due_at = :again WHERE id IN (SELECT id FROM events WHERE due_at <= :now"
            " ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING id",
            now=now,
            again=now + timedelta(seconds=again_s),
            limit=limit,
        )
    ]


def latest(
    connection: Connection, *, state: str | None, source: str | None, limit: int
) -> list[dict[str, Any]]:
    """The newest events for people, without bodies."""
    return rows(
        connection,
        "SELECT id, source, source_event_id, topic, is_verified, received_at, state, case_id, note, tries FROM events"
        " WHERE (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:source AS text) IS NULL OR source = :source)"
        " ORDER BY id DESC LIMIT :limit",
        state=state,
        source=source,
        limit=limit,
    )


def _event(found: dict[str, Any]) -> InboundEvent:
    return InboundEvent(
        event_id=EventId(found["id"]),
        source=found["source"],
        source_event_id=found["source_event_id"],
        topic=found["topic"],
        body=bytes(found["body"]),
        is_verified=found["is_verified"],
        received_at=found["received_at"],
        state=found["state"],
        case_id=found["case_id"] or "",
        note=found["note"],
        tries=found["tries"],
    )


def is_waiting(connection: Connection, source: str, prefix: str) -> bool:
    """Whether an event of the source whose id begins so has come in and is not handled yet."""
    return (
        row(
            connection,
            "SELECT 1 AS yes FROM events WHERE source = :source AND starts_with(source_event_id, :prefix) AND state = 'new' LIMIT 1",
            source=source,
            prefix=prefix,
        )
        is not None
    )
