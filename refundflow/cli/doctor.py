"""`doctor`: everything that must be right for the house to work, checked at once."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import typer

from refundflow.cli import desk

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refundflow.settings import Settings

_PACKAGES: Final = ("refundflow", "celery", "kombu", "redis", "SQLAlchemy", "psycopg2-binary")
_PING_S: Final = 2.0
_SWEEPS: Final = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `result`: ok | warning | error."""

    name: str
    result: str
    detail: str
    hint: str = ""


def register(door: typer.Typer) -> None:
    door.command("doctor")(doctor)


def doctor(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """Check settings, database, broker, Redis, workers, beat, and what waits. Exits with 2 on bad settings, 1 on other errors."""
    from refundflow.cli import show
    from refundflow.cli.show import Column

    checks = [_versions()]
    settings, found = _settings(ctx)
    checks += found
    if settings is not None:
        checks += _database(ctx, settings)
        checks += _broker(settings)
    if as_json:
        show.document({"is_ok": all(c.result != "error" for c in checks), "checks": checks})
    else:
        console = show.out()
        show.table(
            console,
            [Column("check"), Column("result"), Column("detail", wraps=True), Column("hint", wraps=True)],
            [[c.name, c.result, c.detail, c.hint] for c in checks],
        )
    if any(c.name == "settings" and c.result == "error" for c in checks):
        raise typer.Exit(desk.MISTAKE)
    if any(c.result == "error" for c in checks):
        raise typer.Exit(desk.WRONG)


def _versions() -> Check:
    parts = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed as a package")
    return Check("versions", "ok", ", ".join(parts))


def _settings(ctx: typer.Context) -> tuple[Settings | None, list[Check]]:
    """The settings, or every problem in them at once: the general ones, then the platforms'."""
    from refundflow.settings import SettingsError

    try:
        loaded = desk.settings(ctx)
    except SettingsError as error:
        from refundflow import wiring
        from refundflow.settings import read

        problems = (*error.problems, *wiring.platform_problems(read()[0]))
        return None, [Check("settings", "error", problem) for problem in problems]
    if ctx.obj is None:
        from refundflow import wiring

        try:
            wiring.build(loaded)
        except SettingsError as error:
            # Database and broker can be checked all the same.
            return loaded, [Check("settings", "error", problem) for problem in error.problems]
    if not loaded.platforms and ctx.obj is None:
        return loaded, [
            Check(
                "settings",
                "warning",
                "no platform is set up",
                "set REFUNDFLOW_<PLATFORM>_… in the environment",
            )
        ]
    return loaded, [Check("settings", "ok", f"platforms: {', '.join(loaded.platforms) or 'none'}")]


def _database(ctx: typer.Context, settings: Settings) -> list[Check]:
    from refundflow.store import db, reports, runs

    try:
        revision = desk.read(ctx, db.current_revision)
    except db.DatabaseAwayError as error:
        return [Check("database", "error", error.reason, "check DATABASE_URL and that PostgreSQL runs")]
    needed = db.head_revision()
    if revision != needed:
        return [
            Check(
                "database",
                "error",
                f"schema revision {revision or 'none'}, this release needs {needed}",
                "run `refundflow db upgrade`",
            )
        ]
    now = datetime.now(UTC)
    before = now - timedelta(seconds=_SWEEPS * settings.flow.sweep_s)

    def work(connection: Connection) -> tuple[list[dict[str, Any]], dict[str, int], list[dict[str, Any]]]:
        return (
            reports.due(connection, now=now, overdue_before=before),
            reports.waiting_for_people(connection),
            runs.health(connection),
        )

    due, waiting, health = desk.read(ctx, work)
    return [
        Check("database", "ok", f"answers; schema revision {revision}"),
        _beat(due, settings.flow.sweep_s),
        _people(waiting),
        *(
            Check(
                f"platform {h['platform']}",
                "error",
                f"paused until {h['paused_until'].isoformat(timespec='seconds')}: {h['last_error']}",
                "mend its credentials, then `refundflow connectors check`",
            )
            for h in health
            if h["paused_until"] is not None and h["paused_until"] > now
        ),
    ]


def _beat(due: list[dict[str, Any]], sweep_s: float) -> Check:
    """Whether somebody sweeps. A sweep leaves no row of its own; what it does not leave is overdue rows."""
    overdue = sum(d["overdue"] for d in due)
    waiting = ", ".join(f"{d['due']} {d['rows']}" for d in due if d["due"])
    if overdue:
        oldest = min(d["oldest"] for d in due if d["oldest"] is not None)
        return Check(
            "beat",
            "error",
            f"{overdue} rows have been due for more than {_SWEEPS} sweeps ({_SWEEPS * sweep_s:g} s), the oldest since "
            f"{oldest.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')}: no sweep took them",
            "start beat, and a worker for the queue intake",
        )
    if waiting:
        return Check("beat", "ok", f"due now: {waiting}; none for longer than {_SWEEPS} sweeps")
    return Check("beat", "ok", "no row is due, so nothing shows that a sweep is missing")


def _people(waiting: dict[str, int]) -> Check:
    told = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in waiting.items() if number)
    if not told:
        return Check("waiting for people", "ok", "nothing")
    return Check(
        "waiting for people",
        "warning",
        told,
        "`refundflow dead-letters list`, `refundflow case list --state held`, `refundflow events list --state parked`",
    )


def _broker(settings: Settings) -> list[Check]:
    from refundflow.tasks.broker import Broker, UnsupportedBrokerError, broker_of

    url = settings.broker_url.reveal()
    try:
        kind = broker_of(url)
    except UnsupportedBrokerError as error:
        return [Check("broker", "error", str(error), "give BROKER_URL one of these schemes")]
    if trouble := desk.broker_trouble():
        return [
            Check("broker", "error", f"{kind.value} is away: {trouble}", "check BROKER_URL and that it runs")
        ]
    checks = [Check("broker", "ok", f"{kind.value} answers")]
    if kind is Broker.REDIS:
        checks += _redis(url)
    return [*checks, _workers()]


def _redis(url: str) -> list[Check]:
    """Redis settings that work against a broker: messages thrown away when memory is short, or lost with the process."""
    import redis

    client = redis.Redis.from_url(url, socket_timeout=_PING_S, socket_connect_timeout=_PING_S)
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "")
        has_file = client.config_get("appendonly").get("appendonly", "") == "yes"
    except redis.RedisError as error:
        return [
            Check(
                "redis settings",
                "warning",
                f"cannot be read: {error}",
                "check maxmemory-policy and appendonly by hand",
            )
        ]
    finally:
        client.close()
    checks = []
    if policy != "noeviction":
        checks.append(
            Check(
                "redis maxmemory-policy",
                "warning",
                f"{policy}: Redis may throw messages away when memory is short",
                "set maxmemory-policy noeviction",
            )
        )
    if not has_file:
        checks.append(
            Check(
                "redis appendonly",
                "warning",
                "off: a restart of Redis loses the messages in it, and the sweep launches them again later",
                "set appendonly yes",
            )
        )
    return checks or [Check("redis settings", "ok", "noeviction, append-only file on")]


def _workers() -> Check:
    from kombu.exceptions import OperationalError

    from refundflow.tasks.app import app

    try:
        answers = app.control.inspect(timeout=_PING_S).ping() or {}
    except (OperationalError, OSError) as error:
        return Check("workers", "error", f"cannot be asked: {error}", "check BROKER_URL")
    if not answers:
        return Check(
            "workers",
            "error",
            f"none answered within {_PING_S:g} s",
            "start a worker: celery -A refundflow worker",
        )
    return Check("workers", "ok", f"{len(answers)} answered: {', '.join(sorted(answers))}")
