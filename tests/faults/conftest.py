"""For the fault tests: one running system for the whole session, clean ground for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from refundflow.demo.stack import Stack
from refundflow.embedded.postgres import NoPostgresError
from refundflow.embedded.redis import NoRedisError
from refundflow.store.db import Database
from tests.support.live import CONFIG, GENUINE, SEAMS, Live


@pytest.fixture(scope="session")
def running() -> Iterator[Live]:
    """Servers, practice vendors, front door and beat; the workers come with `live` or `seamed`."""
    # Not in pytest's own folder, which is closed to all but its owner: as root PostgreSQL runs as somebody else.
    home = Path(tempfile.mkdtemp(prefix="refundflow-faults-"))
    config = home / "refundflow.toml"
    config.write_text(CONFIG, encoding="utf-8")
    seams = home / "seams"
    seams.mkdir()
    try:
        with Stack(home, is_throwaway=True, config=config, without=("flower", "work", "money")) as stack:
            live = Live(stack, seams, Database(stack.postgres.url, pool_size=2))
            try:
                yield live
            finally:
                live.stop_workers()
                live.database.close()
    except (NoPostgresError, NoRedisError) as error:
        pytest.skip(str(error))
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def live(running: Live) -> Live:
    """The system with its ordinary workers."""
    running.run_workers(GENUINE)
    return running


@pytest.fixture
def seamed(running: Live) -> Live:
    """The system with workers that can be killed or held at every seam of a step's run."""
    running.run_workers(SEAMS)
    return running
