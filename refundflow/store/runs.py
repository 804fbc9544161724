"""What is kept beside the steps: task runs that hold no claim, messages sent, connector health, operators."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from refundflow.store.db import execute, row, rows


def keep_run(
    connection: Connection,
    *,
    task_id: str,
    name: str,
    subject: str,
    case_id: str,
    worker: str,
    started_at: datetime,
    ended_at: datetime,
    outcome: str,
) -> None:
    """Keeps a task run for as long as the shop keeps its records; step runs are kept as attempts."""
    if task_id:
        execute(
            connection,
            "INSERT INTO task_runs (task_id, name, subject, case_id, worker, started_at, ended_at, outcome)"
            " VALUES (:task_id, :name, :subject, :case_id, :worker, :started_at, :ended_at, :outcome)",
            task_id=task_id,
            name=name,
            subject=subject,
            case_id=case_id,
            worker=worker,
            started_at=started_at,
            ended_at=ended_at,
            outcome=outcome,
        )


def of_task(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    return rows(
        connection, "SELECT * FROM task_runs WHERE task_id = :task_id ORDER BY started_at", task_id=task_id
    )


def book_message(
    connection: Connection,
    *,
    case_id: str,
    channel: str,
    template: str,
    money_state: str,
    step_key: str,
    now: datetime,
) -> bool:
    """Claims the right to say this once: per case, channel, template and money state. False when it was said before
    (by another step; the same step may come again after a lost answer).
    """
    execute(
        connection,
        "INSERT INTO messages_sent (case_id, channel, template, money_state, step_key, at)"
        " VALUES (:case_id, :channel, :template, :money_state, :step_key, :now) ON CONFLICT DO NOTHING",
        case_id=case_id,
        channel=channel,
        template=template,
        money_state=money_state,
        step_key=step_key,
        now=now,
    )
    owner = row(
        connection,
        "SELECT step_key FROM messages_sent WHERE case_id = :case_id AND channel = :channel AND template = :template"
        " AND money_state = :money_state",
        case_id=case_id,
        channel=channel,
        template=template,
        money_state=money_state,
    )
    return owner is not None and owner["step_key"] == step_key


def trip(connection: Connection, platform: str, reason: str, *, now: datetime, pause_s: float) -> None:
    """The platform refuses our credentials: the sweep leaves it alone for `pause_s`, and people see why."""
    execute(
        connection,
        "INSERT INTO connector_health AS h (platform, paused_until, last_error, last_error_at, failures)"
        " VALUES (:platform, :until, :reason, :now, 1) ON CONFLICT (platform) DO UPDATE SET paused_until = :until,"
        " last_error = :reason, last_error_at = :now, failures = h.failures + 1",
        platform=platform,
        until=now + timedelta(seconds=pause_s),
        reason=reason,
        now=now,
    )


def mend(connection: Connection, platform: str) -> bool:
    """The platform answers again: waiting steps may go on."""
    return (
        execute(
            connection,
            "UPDATE connector_health SET paused_until = NULL, failures = 0 WHERE platform = :platform AND paused_until IS NOT NULL",
            platform=platform,
        )
        == 1
    )


def health(connection: Connection) -> list[dict[str, Any]]:
    return rows(connection, "SELECT * FROM connector_health ORDER BY platform")
