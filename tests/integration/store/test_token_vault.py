"""Shared tokens over a real database: fetched once for all, sealed, and never lost when a refresh token rotates."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy.exc import ProgrammingError

from refundflow.store.db import Database, execute, rows
from refundflow.store.tokens import TokenVault, read_keys
from refundflow.transport.base import NotSentError, Request, Response
from refundflow.transport.tokens import Shared, Tokens, read_oauth
from tests.support.fake_http import answer

pytestmark = pytest.mark.integration

NAME = "practice-books"
KEY = Fernet.generate_key().decode()


class RotatingVendor:
    """An OAuth server that replaces the refresh token with every refresh, and refuses an old one."""

    def __init__(self) -> None:
        self.good = "granted-0"
        self.number = 0
        self.refreshes: list[str] = []
        self.lock = threading.Lock()
        self.before: Callable[[], Any] = lambda: None

    def send(self, request: Request) -> Response:
        given = dict(request.form or ())["refresh_token"]
        self.before()
        with self.lock:
            self.refreshes.append(given)
            if given != self.good:
                return answer(400, {"error": "invalid_grant"})
            self.number += 1
            self.good = f"rotated-{self.number}"
            return answer(
                200,
                {"access_token": f"access-{self.number}", "expires_in": 3600, "refresh_token": self.good},
            )


def refresh(token: str) -> Request:
    return Request("POST", "https://login.example/token", "books.token", form=[("refresh_token", token)])


def worker(db: Database, vendor: RotatingVendor, key: str = KEY, granted: str = "granted-0") -> Tokens:
    """What another process would have: its own connection pool and its own memory."""
    vault = TokenVault(Database(db.url, pool_size=1), read_keys(key))
    return Tokens(Shared(vendor, refresh, read_oauth, vault, NAME, granted))


def test_eight_workers_that_want_a_token_at_once_refresh_once(db: Database) -> None:
    vendor = RotatingVendor()
    ready = threading.Barrier(8)
    seen: list[str] = []

    def work() -> None:
        tokens = worker(db, vendor)
        ready.wait(20)
        seen.append(tokens.token())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == ["access-1"] * 8
    assert vendor.refreshes == ["granted-0"]


def test_a_refused_token_is_refreshed_once_with_the_rotated_refresh_token(db: Database) -> None:
    vendor = RotatingVendor()
    one, two = worker(db, vendor), worker(db, vendor)
    assert (one.token(), two.token()) == ("access-1", "access-1")
    one.forget("access-1")
    two.forget("access-1")
    assert (one.token(), two.token()) == ("access-2", "access-2")
    assert vendor.refreshes == ["granted-0", "rotated-1"]


def test_what_lies_in_the_database_is_sealed(db: Database) -> None:
    worker(db, RotatingVendor()).token()
    (kept,) = db.run(lambda connection: rows(connection, "SELECT name, sealed FROM tokens"))
    sealed = bytes(kept["sealed"])
    assert kept["name"] == NAME
    for word in (b"access-1", b"rotated-1", b"granted-0"):
        assert word not in sealed
    assert b"access-1" in MultiFernet([Fernet(KEY)]).decrypt(sealed)


def test_a_new_key_in_front_opens_what_the_old_one_sealed(db: Database) -> None:
    vendor = RotatingVendor()
    worker(db, vendor).token()
    newer = Fernet.generate_key().decode()
    assert worker(db, vendor, f"{newer},{KEY}").token() == "access-1"
    assert len(vendor.refreshes) == 1


def test_a_lost_key_begins_again_with_the_token_from_the_settings(db: Database) -> None:
    vendor = RotatingVendor()
    worker(db, vendor).token()
    vendor.good = "granted-0"  # a person connected anew
    assert worker(db, vendor, Fernet.generate_key().decode()).token() == "access-2"


def test_a_new_refresh_token_in_the_settings_is_used_when_the_old_access_token_is_spent(db: Database) -> None:
    vendor = RotatingVendor()
    worker(db, vendor).token()
    vendor.good = "granted-again"
    again = worker(db, vendor, granted="granted-again")
    assert again.token() == "access-1"
    again.forget("access-1")
    assert again.token() == "access-2"
    assert vendor.refreshes == ["granted-0", "granted-again"]


def test_a_refused_refresh_leaves_the_kept_token_as_it_was(db: Database) -> None:
    vendor = RotatingVendor()
    worker(db, vendor).token()
    before = db.run(lambda connection: rows(connection, "SELECT sealed FROM tokens"))
    vendor.good = "something else"
    failing = worker(db, vendor)
    failing.token()
    failing.forget("access-1")
    with pytest.raises(NotSentError, match="answered 400 to our credentials"):
        failing.token()
    assert [bytes(r["sealed"]) for r in before] == [
        bytes(r["sealed"]) for r in db.run(lambda connection: rows(connection, "SELECT sealed FROM tokens"))
    ]


def test_an_expired_token_in_the_vault_is_not_handed_out(db: Database) -> None:
    vendor = RotatingVendor()
    vault = TokenVault(Database(db.url, pool_size=1), read_keys(KEY))
    now = [1_000_000.0]
    shared = Shared(vendor, refresh, read_oauth, vault, NAME, "granted-0", clock=lambda: now[0])
    assert shared.next("")[0] == "access-1"
    now[0] += 3599.5
    assert shared.next("") == ("access-2", 3600.0)


def test_a_vault_that_cannot_be_used_means_that_nothing_is_fetched(db: Database) -> None:
    vendor = RotatingVendor()
    tokens = worker(db, vendor)
    db.run(lambda connection: execute(connection, "ALTER TABLE tokens RENAME TO gone"))
    with pytest.raises(ProgrammingError, match=r"relation .tokens. does not exist"):
        tokens.token()
    assert vendor.refreshes == []


def test_keys_that_are_no_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="Fernet key"):
        read_keys("not a key")
