"""`events`: what the sources told us, as it came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundflow.cli import desk

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = typer.Typer(help="Deliveries from the sources, as they came.", no_args_is_help=True)

_EventId = Annotated[int, typer.Argument(metavar="EVENT", help="An event's number.")]


class EventState(StrEnum):
    NEW = "new"
    HANDLED = "handled"
    IGNORED = "ignored"
    UNREADABLE = "unreadable"
    PARKED = "parked"


@app.command("list")
def list_events(
    ctx: typer.Context,
    state: Annotated[EventState | None, typer.Option("--state", help="Only events in this state.")] = None,
    source: Annotated[str, typer.Option("--source", help="Only events of this source.")] = "",
    limit: desk.Limit = 50,
    as_json: desk.AsJson = False,
) -> None:
    """The newest events, without their bodies."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import inbox

    wanted = state.value if state else None
    found = desk.read(ctx, lambda c: inbox.latest(c, state=wanted, source=source or None, limit=limit))
    if as_json:
        show.document({"events": found})
        return
    console = show.out()
    if not found:
        show.line(console, "no event")
        return
    show.table(
        console,
        [
            Column("event"),
            Column("received"),
            Column("source"),
            Column("topic"),
            Column("trust"),
            Column("state"),
            Column("case"),
            Column("note", wraps=True),
        ],
        [
            [
                e["id"],
                e["received_at"],
                e["source"],
                e["topic"],
                "verified" if e["is_verified"] else "a hint only",
                e["state"],
                e["case_id"],
                e["note"],
            ]
            for e in found
        ],
    )


def _need_event(connection: Connection, event_id: int) -> dict[str, Any]:
    from refundflow.store import reports

    found = reports.event(connection, event_id)
    if found is None:
        raise desk.MistakeError(f"no event {event_id}", "`refundflow events list` shows what there is")
    return found


@app.command("show")
def show_event(
    ctx: typer.Context,
    event_id: _EventId,
    has_body: Annotated[
        bool, typer.Option("--body", help="The raw body too. It may hold a customer's name and address.")
    ] = False,
    as_json: desk.AsJson = False,
) -> None:
    """One event: where it came from, what became of it, and (asked for) its body."""
    from refundflow.cli import show

    found = desk.read(ctx, lambda c: _need_event(c, event_id))
    body = bytes(found.pop("body"))
    found["size"] = len(body)
    if as_json:
        show.document({**found, "body": body} if has_body else found)
        return
    console = show.out()
    for name in (
        "id",
        "source",
        "source_event_id",
        "topic",
        "is_verified",
        "state",
        "note",
        "case_id",
        "received_at",
        "handled_at",
        "due_at",
        "tries",
        "task_id",
        "size",
    ):
        show.line(console, f"{name}: {show.literal(found[name])}")
    show.heading(console, "Headers")
    for name, value in found["headers"].items():
        show.line(console, f"{name}: {value}", indent=2)
    if has_body:
        show.heading(console, "Body")
        show.line(console, body.decode("utf-8", "replace"), indent=2)


@app.command("replay")
def replay_event(
    ctx: typer.Context,
    event_id: _EventId,
    is_executed: desk.Execute = False,
    reason: desk.Reason = "",
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Hand in an unreadable or parked event again, after its cause was mended."""
    from refundflow.cli import show
    from refundflow.flow.context import RefusedError
    from refundflow.store import audit, inbox

    who, why = (desk.operator_of(operator), desk.reason_of(reason)) if is_executed else ("", "")
    relaunch_s = desk.settings(ctx).flow.relaunch_s
    found = desk.read(ctx, lambda c: _need_event(c, event_id))
    if found["state"] not in (EventState.UNREADABLE, EventState.PARKED):
        raise RefusedError(
            f"event {event_id} is {found['state']}: only an unreadable or parked one can be handed in again"
        )
    if not is_executed:
        told = (
            f"event {event_id} from {found['source']} ({found['state']}: {found['note']}) would be read again"
        )
        if as_json:
            show.document({"id": event_id, "plan": told, "is_executed": False})
        else:
            show.line(show.out(), told)
            show.line(show.out(), 'nothing was changed; to act, say it again with --execute --reason "…"')
        return

    def work(connection: Connection) -> None:
        now = datetime.now(UTC)
        if not inbox.reopen(connection, event_id, due_at=now + timedelta(seconds=relaunch_s)):
            raise RefusedError(
                f"event {event_id} moved a moment ago; look again with `refundflow events show {event_id}`"
            )
        audit.write(
            connection, audit.SYSTEM, "event.reopened", now=now, actor=who, event_id=event_id, reason=why
        )

    desk.read(ctx, work)
    trouble = desk.broker_trouble()
    if not trouble:
        from refundflow.domain.ids import EventId
        from refundflow.tasks.launch import launch_intake

        launch_intake(EventId(event_id))
    if as_json:
        show.document({"id": event_id, "is_executed": True, "broker": "away" if trouble else "ok"})
    elif trouble:
        show.line(
            show.out(), f"event {event_id} will be read again by the sweep: the broker is away ({trouble})"
        )
    else:
        show.line(show.out(), f"event {event_id} is read again")
