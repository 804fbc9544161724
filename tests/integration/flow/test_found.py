"""What was found broken, as it should be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.practice import NOBODY, Shop

pytestmark = pytest.mark.integration

_ENQUEUE = """
import threading
from refundflow.domain.ids import EventId
from refundflow.ingest.enqueue import Enqueuer
from refundflow.tasks.app import app
# The result store's own patience is 20 s; the end is the same after less.
app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 1, "interval_start": 0}}
enqueuer = Enqueuer()
enqueuer.enqueue(EventId(1))
(thread,) = [t for t in threading.enumerate() if t.name == "enqueue"]
thread.join(timeout=4)
print("alive" if thread.is_alive() else "dead")
"""


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("nul_in_the_number", {"number": "#10\x0001"}),
        ("half_a_surrogate_in_the_number", {"number": "#10\ud800"}),
        ("half_a_surrogate_in_who_asked", {"number": "#1001", "requested_by": "an\ud800n"}),
    ],
)
def test_a_text_that_the_database_cannot_keep_ends_as_an_unreadable_event(
    shop: Shop, name: str, body: dict[str, str]
) -> None:
    shop.order()
    received = shop.receive(shop.ask(**body))  # type: ignore[arg-type]  # the fields are texts
    assert received.outcome.startswith("unreadable: cannot be read: "), name
    assert shop.book("stripe") == []


def test_the_enqueueing_thread_outlives_a_redis_that_is_away() -> None:
    """Redis as broker and result store, as shipped: while it is away, nothing is published, and later everything is."""
    environment = {
        **os.environ,
        "DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
        "BROKER_URL": NOBODY,
    }
    environment.pop("RESULT_URL", None)
    ended = subprocess.run(
        [sys.executable, "-c", _ENQUEUE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert ended.stdout.endswith("alive\n"), ended.stderr[-600:]
