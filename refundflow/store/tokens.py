"""Vendors' tokens that workers share: encrypted rows, and a lock in the database so that one worker refreshes for all.

The lock is held while the vendor is asked, in the transaction that then keeps the answer: a refresh token that rotates is
good for one use, and its successor must be kept before anybody else may come. A worker that dies meanwhile lets go of the
lock with its connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from refundflow.observe import logger
from refundflow.store.db import Database, DatabaseAwayError, execute, row
from refundflow.transport.base import NotSentError
from refundflow.transport.tokens import Kept

log = logger(__name__)

_BUSY_S = 2.0


def read_keys(given: str) -> MultiFernet:
    """Keys as the settings give them, the first one seals, all open: put a new one in front, and take the old one away
    when every token was fetched anew. Raises ValueError for what is no key.
    """
    return MultiFernet([Fernet(key.strip()) for key in given.split(",") if key.strip()])


class TokenVault:
    """The `Vault` of `transport/tokens.py` over PostgreSQL. Connects on first use."""

    def __init__(self, database: Database, keys: MultiFernet) -> None:
        self._database = database
        self._keys = keys

    def peek(self, name: str) -> Kept | None:
        try:
            return self._database.run(lambda connection: self._read(connection, name), patience_s=5.0)
        except DatabaseAwayError as error:
            raise NotSentError(f"no token: {error.reason}") from error

    @contextmanager
    def hold(self, name: str) -> Iterator[TokenCell]:
        """Raises NotSentError where another worker holds it for longer than the lock's time limit, or the database is away."""
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    text("SELECT pg_advisory_xact_lock(hashtextextended('token:' || :name, 0))"),
                    {"name": name},
                )
                yield TokenCell(self, connection, name)
        except DBAPIError as error:
            raise NotSentError(
                f"no token: the vault cannot be used: {type(error.orig).__name__}", _BUSY_S
            ) from error

    def _read(self, connection: Connection, name: str) -> Kept | None:
        found = row(connection, "SELECT sealed FROM tokens WHERE name = :name", name=name)
        if found is None:
            return None
        try:
            return Kept(**json.loads(self._keys.decrypt(bytes(found["sealed"]))))
        except (InvalidToken, ValueError, TypeError):
            # Sealed with a key that the settings do not hold any more: as if there were none, and said aloud.
            log.warning("token.unreadable", platform=name)
            return None

    def _write(self, connection: Connection, name: str, kept: Kept) -> None:
        execute(
            connection,
            "INSERT INTO tokens (name, sealed, updated_at) VALUES (:name, :sealed, now())"
            " ON CONFLICT (name) DO UPDATE SET sealed = EXCLUDED.sealed, updated_at = now()",
            name=name,
            sealed=self._keys.encrypt(json.dumps(asdict(kept)).encode()),
        )


@dataclass(frozen=True, slots=True)
class TokenCell:
    """One platform's token while its lock is held."""

    vault: TokenVault
    connection: Connection
    name: str

    def read(self) -> Kept | None:
        return self.vault._read(self.connection, self.name)

    def write(self, kept: Kept) -> None:
        """Kept when the transaction ends, which is when the lock is let go."""
        self.vault._write(self.connection, self.name, kept)
