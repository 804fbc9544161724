"""For every integration test: a real PostgreSQL, one fresh and migrated database per test.

`REFUNDFLOW_TEST_DATABASE_URL` names a server to use (its role must be allowed to create databases, and to be superuser for
the tests that tamper with the audit); without it a server is started from the wheel.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from refundflow.embedded.postgres import EmbeddedPostgres, NoPostgresError
from refundflow.store.db import Database, upgrade

_TEMPLATE = "refundflow_template"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A superuser's URL of a running server."""
    if given := os.environ.get("REFUNDFLOW_TEST_DATABASE_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        return
    # Not in pytest's own folder: every session that starts closes that one to all but its owner, and as root the server
    # runs as somebody else.
    with tempfile.TemporaryDirectory(prefix="refundflow-", ignore_cleanup_errors=True) as folder:
        try:
            server = EmbeddedPostgres(Path(folder), is_throwaway=True).start()
        except NoPostgresError as error:
            pytest.skip(str(error))
        yield server.url
        server.stop(is_immediate=True)


@pytest.fixture(scope="session")
def migrated_server(postgres_url: str) -> Iterator[Engine]:
    """The server with a migrated database that every test's own is copied from."""
    name = f"{_TEMPLATE}_{uuid.uuid4().hex[:8]}"
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    template = Database(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    upgrade(template)
    template.close()
    yield admin.execution_options(template=name)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def db(migrated_server: Engine) -> Iterator[Database]:
    """A fresh database with this release's schema."""
    name = f"refundflow_{uuid.uuid4().hex[:12]}"
    template = migrated_server.get_execution_options()["template"]
    with migrated_server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    database = Database(migrated_server.url.set(database=name).render_as_string(hide_password=False))
    yield database
    database.close()
    with migrated_server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
