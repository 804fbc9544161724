"""The practice vendors and one database, once per session and both empty for every test, and a shop on top of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from refundflow.store.db import Database
from tests.support.practice import Shop, Vendors, empty, fresh_database, open_shop, serve_vendors


@pytest.fixture(scope="session")
def vendors() -> Iterator[Vendors]:
    with serve_vendors() as served:
        yield served


@pytest.fixture(scope="session")
def flow_db(migrated_server: Engine) -> Iterator[Database]:
    with fresh_database(migrated_server) as database:
        yield database


@pytest.fixture
def shop(vendors: Vendors, flow_db: Database) -> Shop:
    """A shop that writes mails, and keeps no books elsewhere."""
    vendors.reset()
    empty(flow_db)
    return open_shop(vendors, flow_db)
