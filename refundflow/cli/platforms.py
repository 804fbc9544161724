"""`connectors check` and `ask`: what the vendors say now. Reads only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import typer

from refundflow.cli import desk

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refundflow.connectors.base import Connector

app = typer.Typer(help="The platforms that are set up.", no_args_is_help=True)


def register(door: typer.Typer) -> None:
    door.command("ask")(ask)


@app.callback()
def _connectors() -> None:
    """The platforms that are set up."""


@app.command("check")
def check(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """One cheap authenticated read on every platform that is set up. A platform that answers is un-paused."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import runs

    house = desk.house(ctx)
    connectors = house.platforms.all
    if not connectors:
        raise desk.MistakeError("no platform is set up", "set REFUNDFLOW_<PLATFORM>_… in the environment")
    with ThreadPoolExecutor(max_workers=len(connectors)) as pool:
        checked = list(pool.map(_check, connectors, connectors.values()))

    def work(connection: Connection) -> set[str]:
        return {c["platform"] for c in checked if c["is_ok"] and runs.mend(connection, c["platform"])}

    mended = house.db.run(work)
    for found in checked:
        found["was_paused"] = found["platform"] in mended
    if as_json:
        show.document({"platforms": checked})
    else:
        show.table(
            show.out(),
            [Column("platform"), Column("result"), Column("ms", is_right=True), Column("detail", wraps=True)],
            [
                [
                    c["platform"],
                    "ok" if c["is_ok"] else "error",
                    c["took_ms"],
                    c["detail"] + ("; its waiting steps go on" if c["was_paused"] else ""),
                ]
                for c in checked
            ],
        )
    if not all(c["is_ok"] for c in checked):
        raise typer.Exit(desk.WRONG)


def _check(platform: str, connector: Connector) -> dict[str, Any]:
    from refundflow.transport.base import MaybeSentError, NotSentError

    started = time.monotonic()
    try:
        health = connector.check()
        is_ok, detail = health.is_ok, health.detail
    except (NotSentError, MaybeSentError) as error:
        is_ok, detail = False, f"no answer: {error.reason}"
    took_ms = round((time.monotonic() - started) * 1000)
    return {"platform": platform, "is_ok": is_ok, "detail": detail, "took_ms": took_ms}


def ask(ctx: typer.Context, step_key: desk.StepArgument, as_json: desk.AsJson = False) -> None:
    """Ask the step's vendor what really happened. A read: nothing is sent, nothing is written."""
    from refundflow.cli import show

    house = desk.house(ctx)
    step = house.db.run(lambda c: desk.need_step(c, step_key))
    from refundflow.flow import act
    from refundflow.flow import replay as flow

    found = flow.ask(house.context, step)
    if as_json:
        show.document(
            {
                "step_key": step_key,
                "state": step.state,
                "platform": step.platform,
                "amount": step.amount,
                "answer": {"outcome": type(found).__name__.lower(), "told": act.describe(found)},
            }
        )
        return
    console = show.out()
    amount = f" over {step.amount}" if step.amount else ""
    show.line(
        console, f"{step_key}  {step.action}{amount} at {step.platform}, here {step.state.value}", "bold"
    )
    show.line(console, f"{step.platform} says: {act.describe(found)}")
