"""The other broker, by its address alone: the same system, the same books, results in PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from rich.console import Console

from refundflow.demo.run import Demo
from refundflow.demo.scenes import scenes
from refundflow.demo.stack import Stack

_AMQP = os.environ.get("REFUNDFLOW_TEST_AMQP_URL", "")
_SCENES = ("whole-1", "partial-1", "two-payments", "throttled", "lost-reply", "refused")

pytestmark = [
    pytest.mark.faults,
    pytest.mark.rabbitmq,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not _AMQP, reason="needs RabbitMQ: set REFUNDFLOW_TEST_AMQP_URL"),
]


def test_the_demos_books_agree_with_rabbitmq_as_the_broker_and_a_worker_killed() -> None:
    home = Path(tempfile.mkdtemp(prefix="refundflow-amqp-"))
    chosen = tuple(s for s in scenes() if s.name in _SCENES)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            Stack(home, is_throwaway=True, without=("flower",), environment={"BROKER_URL": _AMQP}) as stack,
        ):
            console = Console(file=nowhere, width=140, record=True)
            demo = Demo(stack, console, chosen)
            try:
                assert demo.play(), console.export_text()
            finally:
                demo.database.close()
            assert len(demo.stories) == len(_SCENES)
            assert "killed" in demo.killed
    finally:
        shutil.rmtree(home, ignore_errors=True)
