"""The command line over a fresh database."""

from __future__ import annotations

import pytest

from refundflow.store.db import Database
from tests.integration.cli.desk import Desk


@pytest.fixture
def desk(db: Database) -> Desk:
    return Desk(db)
