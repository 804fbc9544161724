"""The `refundflow` command: every noun in one place, exit codes, and the one place where errors become sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from refundflow.cli import (
    audit,
    cases,
    database,
    dead_letters,
    desk,
    doctor,
    events,
    ledger,
    platforms,
    replay,
    run,
    sources,
    tasks,
    templates,
)

_HELP = """Carries order cancellations and refunds out everywhere they must be, each effect exactly once.

Reading is free. A replay or a discard prints its plan first, and acts only with --execute and --reason.

Exit codes: 0 ok. 1 something is wrong: a check failed, or the move was refused. 2 a usage mistake, an unknown id, or
settings that cannot work. 3 the database or the broker is away.
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error as a person reads it. `hint`: what to do; `code`: the exit code."""

    code: int
    message: str
    hint: str = ""


class Door(TyperGroup):
    """The top command. Errors that a person can do something about end here, as a sentence and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's public name of the same class
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            trouble = explain(error)
            if trouble is None:
                raise  # a usage error, which typer prints, or a bug, whose traceback is wanted
            from refundflow.cli import show

            console = show.err()
            show.line(console, f"error: {trouble.message}", "red")
            if trouble.hint:
                show.line(console, f"hint: {trouble.hint}")
            raise typer.Exit(trouble.code) from error


def explain(error: Exception) -> Trouble | None:
    """The error as a person should read it; None for what is typer's own or a bug."""
    if isinstance(error, desk.MistakeError):
        return Trouble(desk.MISTAKE, error.message, error.hint)
    if isinstance(error, desk.BrokerAwayError):
        return Trouble(
            desk.AWAY, f"the broker is away: {error.reason}", "check BROKER_URL with `refundflow doctor`"
        )
    from refundflow.settings import SettingsError

    if isinstance(error, SettingsError):
        return Trouble(desk.MISTAKE, str(error), "`refundflow doctor` checks the rest once these are mended")
    from sqlalchemy.exc import ProgrammingError

    from refundflow.store.db import DatabaseAwayError

    if isinstance(error, DatabaseAwayError):
        return Trouble(
            desk.AWAY, error.reason, "check DATABASE_URL and that PostgreSQL runs; nothing was half done"
        )
    if isinstance(error, ProgrammingError) and getattr(error.orig, "pgcode", "") in ("42P01", "42703"):
        return Trouble(
            desk.WRONG, "the database's schema is not this release's", "run `refundflow db upgrade`"
        )
    from refundflow.flow.context import RefusedError

    if isinstance(error, RefusedError):
        return Trouble(desk.WRONG, error.reason)
    from refundflow.flow.compose import ComposeError

    if isinstance(error, ComposeError):
        return Trouble(desk.WRONG, str(error), "`refundflow templates check` tells every problem at once")
    return None


app = typer.Typer(
    cls=Door,
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(help=_HELP)
def _door() -> None: ...


app.add_typer(cases.app, name="case")
cases.register(app)
replay.register(app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(tasks.app, name="task")
sources.register(app)
app.add_typer(templates.app, name="templates")
platforms.register(app)
app.add_typer(platforms.app, name="connectors")
doctor.register(app)
app.add_typer(database.app, name="db")
app.add_typer(audit.app, name="audit")
app.add_typer(ledger.app, name="ledger")
run.register(app)


def main() -> NoReturn:
    """The console script. Ends the process with one of the documented codes."""
    app(prog_name="refundflow")
    raise SystemExit(desk.OK)
