"""`task`: what one Celery task did, from our own rows: Redis may have forgotten it long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundflow.cli import desk

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = typer.Typer(help="Runs of Celery tasks, found by their id.", no_args_is_help=True)


@app.command("show")
def show_task(
    ctx: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="A Celery task id.")],
    as_json: desk.AsJson = False,
) -> None:
    """The case, steps, tries, worker, times and outcome of one task, whether or not the broker still knows it."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import reports, runs, steps

    def work(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        return {
            "attempts": steps.runs_of_task(connection, task_id),
            "runs": runs.of_task(connection, task_id),
            "events": reports.events_of_task(connection, task_id),
        }

    found = desk.read(ctx, work)
    if not any(found.values()):
        raise desk.MistakeError(
            f"no task {task_id}",
            "tasks that changed nothing leave no row; `refundflow case show` names the runs of a case's steps",
        )
    if as_json:
        show.document({"task_id": task_id, **found})
        return
    console = show.out()
    show.line(console, f"task {task_id}", "bold")
    if found["attempts"]:
        show.heading(console, "Tries and looks")
        show.table(
            console,
            [
                Column("step"),
                Column("at"),
                Column("move"),
                Column("phase"),
                Column("outcome"),
                Column("reference"),
                Column("worker"),
                Column("step now"),
                Column("why", wraps=True),
            ],
            [
                [
                    a["step_key"],
                    a["at"],
                    a["move"],
                    a["phase"],
                    a["outcome"],
                    a["reference"],
                    a["worker"],
                    a["state"],
                    ": ".join(part for part in (a["code"], a["reason"]) if part),
                ]
                for a in found["attempts"]
            ],
        )
    if found["runs"]:
        show.heading(console, "Runs")
        show.table(
            console,
            [
                Column("task"),
                Column("about"),
                Column("case"),
                Column("started"),
                Column("ended"),
                Column("worker"),
                Column("outcome", wraps=True),
            ],
            [
                [
                    r["name"],
                    r["subject"],
                    r["case_id"],
                    r["started_at"],
                    r["ended_at"],
                    r["worker"],
                    r["outcome"],
                ]
                for r in found["runs"]
            ],
        )
    if found["events"]:
        show.heading(console, "Events")
        show.table(
            console,
            [
                Column("event"),
                Column("source"),
                Column("topic"),
                Column("state"),
                Column("case"),
                Column("handled"),
                Column("note", wraps=True),
            ],
            [
                [e["id"], e["source"], e["topic"], e["state"], e["case_id"], e["handled_at"], e["note"]]
                for e in found["events"]
            ],
        )
