"""The connection to PostgreSQL, transactions that outlive a restart of the database, and migrations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

T = TypeVar("T")

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_CONNECT: Final = {
    "connect_timeout": 5,
    "application_name": "refundflow",
    # No call holds a lock or a connection for ever, whatever the pool or the time limits of Celery do.
    "options": "-c statement_timeout=20s -c lock_timeout=8s -c idle_in_transaction_session_timeout=30s -c timezone=UTC",
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class DatabaseAwayError(Exception):
    """PostgreSQL could not be reached for as long as the caller could wait. Nothing was half done."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Database:
    """One engine per process. Connecting happens on first use."""

    def __init__(self, url: str, pool_size: int = 4) -> None:
        self.url = url
        self._pool_size = pool_size
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = create_engine(
                    self.url,
                    pool_size=self._pool_size,
                    max_overflow=2,
                    pool_timeout=10,
                    pool_recycle=1800,
                    connect_args=_CONNECT,
                )
            return self._engine

    def close(self) -> None:
        """Drops all connections; also called after a fork, where they belong to the parent."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose(close=True)
                self._engine = None

    def forget(self) -> None:
        """After a fork: the child must not touch, not even close, its parent's connections."""
        self._lock = threading.Lock()
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: commits at the end, rolls back on an exception."""
        with self.engine.begin() as connection:
            yield connection

    def run(self, work: Callable[[Connection], T], *, patience_s: float = 15.0) -> T:
        """Runs `work` in one transaction, again when the connection was lost, for up to `patience_s`.

        `work` must be safe to run twice: after a lost connection nobody knows whether the commit came through.
        Deadlocks and serialisation failures were rolled back for certain and are repeated too.
        Raises DatabaseAwayError when the database stays away.
        """
        deadline = time.monotonic() + patience_s
        pause_s = 0.05
        while True:
            try:
                with self.transaction() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not _is_transient(error):
                    raise
                if time.monotonic() + pause_s > deadline:
                    raise DatabaseAwayError(f"PostgreSQL is away: {_first_line(error)}") from error
            threading.Event().wait(pause_s)
            pause_s = min(1.0, pause_s * 2)


def _is_transient(error: DBAPIError) -> bool:
    state = getattr(error.orig, "pgcode", None)
    if state in {"40001", "40P01", "57P01", "57P02", "57P03", "55P03", "53300"}:
        return True
    return error.connection_invalidated or (isinstance(error, OperationalError) and state is None)


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().split("\n")[0]


def upgrade(database: Database) -> str:
    """Brings the schema to this release; returns its revision. Safe to run from many hosts at once."""
    with database.engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(7266102)"))
        try:
            config = _alembic()
            config.attributes["connection"] = connection
            connection.commit()
            command.upgrade(config, "head")
            connection.commit()
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(7266102)"))
            connection.commit()
    return head_revision()


def current_revision(connection: Connection) -> str | None:
    """The revision the database is at, None where it has no schema yet."""
    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """The revision this release needs."""
    return str(ScriptDirectory.from_config(_alembic()).get_current_head())


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def rows(connection: Connection, sql: str, **values: Any) -> list[dict[str, Any]]:
    """All rows of a query, as dicts."""
    return [dict(row) for row in connection.execute(text(sql), values).mappings()]


def row(connection: Connection, sql: str, **values: Any) -> dict[str, Any] | None:
    """The first row of a query, or None."""
    first = connection.execute(text(sql), values).mappings().first()
    return dict(first) if first is not None else None


def execute(connection: Connection, sql: str, **values: Any) -> int:
    """Runs a statement; returns how many rows it touched."""
    return connection.execute(text(sql), values).rowcount
