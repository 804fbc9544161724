"""One database for all tests of the front door, empty for each; and a broker that is away, as far as Celery knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from refundflow.store.db import Database
from tests.support.practice import NOBODY, Shop, Vendors, empty, fresh_database, open_shop, serve_vendors


@pytest.fixture(scope="module", autouse=True)
def broker_away() -> Iterator[None]:
    """What the enqueueing thread reads when it first publishes. No test may depend on a broker: it is never there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
        patch.setenv("BROKER_URL", NOBODY)
        patch.setenv("RESULT_URL", "cache+memory://")
        yield


@pytest.fixture(scope="session")
def ingest_db(migrated_server: Engine) -> Iterator[Database]:
    with fresh_database(migrated_server) as database:
        yield database


@pytest.fixture
def emptied(ingest_db: Database) -> Database:
    empty(ingest_db)
    return ingest_db


@pytest.fixture(scope="session")
def vendors() -> Iterator[Vendors]:
    with serve_vendors() as served:
        yield served


@pytest.fixture
def shop(vendors: Vendors, emptied: Database) -> Shop:
    """A shop with practice vendors behind the front door."""
    vendors.reset()
    return open_shop(vendors, emptied)
