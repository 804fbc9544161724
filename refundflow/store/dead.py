"""Dead letters: steps that need a person (they are step rows) and messages that no worker could make sense of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from refundflow.store.codec import dump
from refundflow.store.db import execute, row, rows


def dead_steps(
    connection: Connection,
    *,
    case_id: str | None = None,
    platform: str | None = None,
    kind: str | None = None,
    code: str | None = None,
    limit: int = 200,
) -> list[dict[str, Any]]:
    """Dead-lettered steps, newest first, with their reason and whether they may have acted."""
    return rows(
        connection,
        "SELECT s.step_key, s.case_id, c.order_number, s.kind, s.action, s.platform, s.code, s.reason, s.amount_minor,"
        " s.currency, s.may_have_happened, s.attempts, s.ended_at FROM steps s JOIN cases c ON c.case_id = s.case_id"
        " WHERE s.state = 'dead_lettered' AND (CAST(:case_id AS text) IS NULL OR s.case_id = :case_id)"
        " AND (CAST(:platform AS text) IS NULL OR s.platform = :platform) AND (CAST(:kind AS text) IS NULL OR s.kind = :kind)"
        " AND (CAST(:code AS text) IS NULL OR s.code = :code) ORDER BY s.ended_at DESC, s.step_key LIMIT :limit",
        case_id=case_id,
        platform=platform,
        kind=kind,
        code=code,
        limit=limit,
    )


def keep_message(
    connection: Connection,
    *,
    message_id: str,
    reason: str,
    queue: str,
    headers: dict[str, Any],
    body: bytes,
    content_type: str,
    died_at: datetime,
) -> bool:
    """Keeps a broker message that could not be run; once, however often it is handed in."""
    return (
        execute(
            connection,
            "INSERT INTO dead_messages (message_id, reason, queue, headers, body, content_type, died_at) VALUES"
            " (:message_id, :reason, :queue, CAST(:headers AS jsonb), :body, :content_type, :died_at) ON CONFLICT DO NOTHING",
            message_id=message_id,
            reason=reason,
            queue=queue,
            headers=dump(headers),
            body=body,
            content_type=content_type,
            died_at=died_at,
        )
        == 1
    )


def messages(connection: Connection, *, state: str | None = "dead", limit: int = 200) -> list[dict[str, Any]]:
    """Dead broker messages, newest first."""
    return rows(
        connection,
        "SELECT message_id, reason, queue, content_type, octet_length(body) AS size, died_at, state, note FROM dead_messages"
        " WHERE (CAST(:state AS text) IS NULL OR state = :state) ORDER BY died_at DESC LIMIT :limit",
        state=state,
        limit=limit,
    )


def message(connection: Connection, message_id: str) -> dict[str, Any] | None:
    """One dead message with its body; a unique beginning of its id is enough."""
    return row(
        connection,
        "SELECT * FROM dead_messages WHERE message_id = :id OR (length(:id) >= 8 AND starts_with(message_id, :id))"
        " ORDER BY message_id = :id DESC LIMIT 1",
        id=message_id,
    )


def close_message(connection: Connection, message_id: str, *, state: str, note: str) -> bool:
    """Marks a dead message as replayed or discarded."""
    return (
        execute(
            connection,
            "UPDATE dead_messages SET state = :state, note = :note WHERE message_id = :id AND state = 'dead'",
            id=message_id,
            state=state,
            note=note,
        )
        == 1
    )
