"""What commands share: the options that mean the same everywhere, the opened house, the waves sent off, and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refundflow.domain.steps import Step
    from refundflow.flow.context import Wave
    from refundflow.settings import Settings
    from refundflow.store.cases import Case
    from refundflow.store.db import Database
    from refundflow.wiring import House

T = TypeVar("T")

OK: Final = 0
WRONG: Final = 1
MISTAKE: Final = 2
AWAY: Final = 3

#: A person waits at the prompt; workers wait longer.
_PATIENCE_S: Final = 2.0
_BROKER_S: Final = 2

AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, with stable field names.")
]
Operator = Annotated[
    str,
    typer.Option(
        "--operator",
        metavar="NAME",
        help="Who acts, for the audit. [default: REFUNDFLOW_OPERATOR, else the login name]",
    ),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit.")]
Execute = Annotated[
    bool, typer.Option("--execute", help="Act. Without it only the plan is printed, and nothing is changed.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="The most rows to show or to act on.")]
CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="A case id, such as RF-1KQ3…")]
StepArgument = Annotated[str, typer.Argument(metavar="STEP", help="A step key, such as RF-1KQ3….refund.1")]


class MistakeError(Exception):
    """What was typed cannot be meant. `hint`: what to type instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BrokerAwayError(Exception):
    """The broker could not be reached, and the command cannot do without it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def settings(ctx: typer.Context) -> Settings:
    """The settings. Raises SettingsError with every problem."""
    if ctx.obj is not None:
        given: Settings = ctx.obj.settings
        return given
    from refundflow.settings import load

    return load()


def database(ctx: typer.Context) -> Database:
    """PostgreSQL, for commands that only read rows: they work while a vendor's credentials are wrong."""
    if ctx.obj is not None:
        given: Database = ctx.obj.db
        return given
    from refundflow.store.db import Database

    return Database(settings(ctx).database_url.reveal())


def read(ctx: typer.Context, work: Callable[[Connection], T]) -> T:
    """Runs a query. Raises DatabaseAwayError after a short while."""
    return database(ctx).run(work, patience_s=_PATIENCE_S)


def house(ctx: typer.Context) -> House:
    """The whole house, with every platform; the database has answered. Raises SettingsError, DatabaseAwayError."""
    if ctx.obj is not None:
        opened: House = ctx.obj
    else:
        from refundflow import observe, wiring

        # Standard output belongs to the command's answer; what lower rooms log goes to standard error.
        observe.set_up_logs("WARNING")
        opened = wiring.house()
    opened.db.run(lambda _: None, patience_s=_PATIENCE_S)
    return opened


def operator_of(name: str) -> str:
    """Who acts. Raises MistakeError where nobody says."""
    from refundflow.settings import operator_name

    who = name.strip() or operator_name()
    if not who:
        raise MistakeError("who acts is not known", "give --operator NAME, or set REFUNDFLOW_OPERATOR")
    return who


def reason_of(reason: str) -> str:
    """The given reason. Raises MistakeError for an empty one: the audit must say why."""
    if not reason.strip():
        raise MistakeError("a reason is missing", 'give --reason "why this is right"')
    return reason.strip()


def need_case(connection: Connection, case_id: str) -> Case:
    """The case. Raises MistakeError for an id that does not exist."""
    from refundflow.store import cases

    case = cases.load(connection, case_id)
    if case is None:
        raise MistakeError(
            f"no case {case_id}",
            "`refundflow case list` shows what there is; `refundflow case list --order NUMBER` finds an order's",
        )
    return case


def need_step(connection: Connection, step_key: str) -> Step:
    """The step. Raises MistakeError for a key that does not exist."""
    from refundflow.store import steps

    step = steps.load(connection, step_key)
    if step is None:
        case_id = step_key.split(".", 1)[0]
        raise MistakeError(f"no step {step_key}", f"`refundflow case show {case_id}` lists the case's steps")
    return step


def broker_trouble() -> str:
    """Why the broker cannot be reached; empty when it answers. Takes a few seconds at most."""
    from kombu.exceptions import OperationalError

    from refundflow.tasks.app import app

    try:
        with app.connection_for_write(connect_timeout=_BROKER_S) as connection:
            connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0, interval_max=0, timeout=_BROKER_S
            )
    except (OperationalError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def send_off(waves: Sequence[Wave]) -> str:
    """Launches what became ready. Returns why the broker could not take it (the sweep launches it later), or nothing.

    The broker is asked first: a publish to one that is away waits for it as long as a worker would.
    """
    if not any(wave.steps for wave in waves):
        return ""
    trouble = broker_trouble()
    if trouble:
        return trouble
    from refundflow.tasks.launch import launch

    launched = [launch(wave) for wave in waves]  # every one is tried, whatever became of the one before
    return "" if all(launched) else "the broker went away while publishing"


def sent_off(waves: Sequence[Wave], trouble: str) -> str:
    """One sentence for people on what was launched."""
    count = sum(len(wave.steps) for wave in waves)
    if not count:
        return "nothing to launch now"
    steps = "1 step" if count == 1 else f"{count} steps"
    if trouble:
        return f"{steps} will be launched by the sweep: the broker is away ({trouble})"
    return f"{steps} launched"
