"""Poll: what a platform's webhooks do not bring is fetched, and stored in the inbox like a delivery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from refundflow.connectors.base import Polled
from refundflow.domain.ids import EventId
from refundflow.domain.outcomes import Retryable
from refundflow.flow.context import Context
from refundflow.store import inbox, polls
from refundflow.transport.base import MaybeSentError, NotSentError


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look came to. `new`: the events that were not known yet; `has_more`: look again at once."""

    platform: str
    new: tuple[EventId, ...] = ()
    has_more: bool = False
    problem: str = ""


def poll(context: Context, platform: str) -> Looked:
    """One look at a platform. The events and the cursor behind them are committed together, so a look that dies half-way is
    made again, and the inbox drops what it knows. Two looks at once end as one: the cursor moves from where it was read.
    """
    connector = context.platforms.pollers.get(platform)
    if connector is None:
        return Looked(platform, problem="not configured for polling")
    cursor = context.db.run(lambda connection: polls.cursor_of(connection, platform))
    try:
        found = connector.poll(cursor, context.now())
    except (NotSentError, MaybeSentError) as error:
        return _failed(context, platform, error.reason, None)
    if not isinstance(found, Polled):
        return _failed(
            context, platform, found.reason, found.after_s if isinstance(found, Retryable) else None
        )
    return context.db.run(lambda connection: _keep(context, connection, platform, cursor, found))


def _keep(context: Context, connection: Connection, platform: str, cursor: str, found: Polled) -> Looked:
    now = context.now()
    stored = [
        inbox.insert(
            connection,
            source=platform,
            source_event_id=event.source_event_id,
            topic=event.topic,
            headers={"refundflow-polled": now.isoformat()},
            body=event.body,
            is_verified=True,  # the platform itself told us, over our own authenticated connection
            now=now,
        )
        for event in found.events
    ]
    new = tuple(s.event_id for s in stored if s.is_new)
    wait_s = 0.0 if found.has_more else context.poll_s
    is_ours = polls.move(
        connection,
        platform,
        was=cursor,
        cursor=found.cursor,
        due_at=now + timedelta(seconds=wait_s),
        now=now,
        found_any=bool(new),
    )
    return Looked(platform, new, found.has_more and is_ours)


def _failed(context: Context, platform: str, reason: str, after_s: float | None) -> Looked:
    now = context.now()
    due_at = now + timedelta(seconds=max(after_s or 0.0, min(60.0, context.poll_s)))
    context.db.run(lambda connection: polls.note_error(connection, platform, reason, due_at=due_at, now=now))
    return Looked(platform, problem=reason)
