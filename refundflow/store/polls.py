"""How far each polled platform has been read. The cursor moves in the transaction that stores what was found."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from refundflow.store.db import execute, row, rows


def begin(connection: Connection, platforms: Iterable[str], *, now: datetime) -> None:
    """A row for each platform that has none yet, due at once."""
    for platform in platforms:
        execute(
            connection,
            "INSERT INTO poll_cursors (platform, due_at) VALUES (:platform, :now) ON CONFLICT DO NOTHING",
            platform=platform,
            now=now,
        )


def take_due(
    connection: Connection, platforms: Iterable[str], *, now: datetime, again: datetime
) -> list[str]:
    """Platforms whose time has come, of those that are set up; due again at `again`, in case their look is lost."""
    return [
        str(r["platform"])
        for r in rows(
            connection,
            "UPDATE poll_cursors SET due_at = :again WHERE platform IN (SELECT platform FROM poll_cursors"
            " WHERE due_at <= :now AND platform = ANY(:platforms) FOR UPDATE SKIP LOCKED) RETURNING platform",
            now=now,
            again=again,
            platforms=list(platforms),
        )
    ]


def cursor_of(connection: Connection, platform: str, *, lock: bool = False) -> str:
    """Where the next look begins; "" before the first. `lock`: nobody else may move it until the transaction ends."""
    found = row(
        connection,
        "SELECT cursor FROM poll_cursors WHERE platform = :platform" + (" FOR UPDATE" if lock else ""),
        platform=platform,
    )
    return str(found["cursor"]) if found else ""


def move(
    connection: Connection,
    platform: str,
    *,
    was: str,
    cursor: str,
    due_at: datetime,
    now: datetime,
    found_any: bool,
) -> bool:
    """Moves the cursor on. False when somebody else did since it was read; then nothing is changed."""
    return (
        execute(
            connection,
            "UPDATE poll_cursors SET cursor = :cursor, due_at = :due_at, polled_at = :now, last_error = '',"
            " last_event_at = CASE WHEN :found_any THEN :now ELSE last_event_at END"
            " WHERE platform = :platform AND cursor = :was",
            platform=platform,
            was=was,
            cursor=cursor,
            due_at=due_at,
            now=now,
            found_any=found_any,
        )
        == 1
    )


def note_error(
    connection: Connection, platform: str, reason: str, *, due_at: datetime, now: datetime
) -> None:
    """The look failed: the cursor stays, and the next look begins where this one did."""
    execute(
        connection,
        "UPDATE poll_cursors SET last_error = :reason, last_error_at = :now, due_at = :due_at WHERE platform = :platform",
        platform=platform,
        reason=reason,
        due_at=due_at,
        now=now,
    )


def all_of(connection: Connection) -> list[dict[str, Any]]:
    """Every polled platform, for people."""
    return rows(connection, "SELECT * FROM poll_cursors ORDER BY platform")
