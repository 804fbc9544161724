"""Enqueueing behind the answer: a thread publishes what was committed, so that a slow broker never slows a sender down.

What it cannot publish is no loss: every stored event is due in its row, and the sweep launches it.
"""

from __future__ import annotations

import os
import queue
import threading
from typing import Final

from refundflow.domain.ids import EventId
from refundflow.observe import logger
from refundflow.tasks.broker import INGEST_PUBLISH
from refundflow.tasks.launch import launch_intake

log = logger(__name__)
_LIMIT: Final = 10_000


class Enqueuer:
    """One thread per process, started on first use (and again in a forked child)."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[EventId] = queue.Queue(_LIMIT)
        self._lock = threading.Lock()
        self._pid = 0

    def enqueue(self, event_id: EventId) -> None:
        """Hands an event to the thread. Never blocks, never raises."""
        self._start()
        try:
            self._waiting.put_nowait(event_id)
        except queue.Full:
            log.warning("enqueue.full", event_id=event_id)

    def _start(self) -> None:
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._publish, name="enqueue", daemon=True).start()

    def _publish(self) -> None:
        while True:
            event_id = self._waiting.get()
            try:
                launch_intake(event_id, retry_policy=INGEST_PUBLISH)
            except Exception:  # whatever it was, the next event must still be published
                log.exception("enqueue.failed", event_id=event_id)
