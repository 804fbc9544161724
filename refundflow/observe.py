"""Structured logs (structlog, JSON) and Prometheus metrics. Set up once per process, by its entry point.

Events have constant names (`step.sent`, `step.unknown`); values are keyword fields, ids not objects. No card, token,
e-mail or address belongs in a line.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from prometheus_client import Counter, Histogram

STEP_RUNS = Counter(
    "refundflow_step_runs",
    "Runs of steps by kind, platform and the state they ended in.",
    ["kind", "platform", "state"],
)
STEP_SECONDS = Histogram("refundflow_step_seconds", "How long a run of a step took.", ["kind", "platform"])
EVENTS_RECEIVED = Counter(
    "refundflow_events_received", "Deliveries at the front door by source and answer.", ["source", "status"]
)
SWEPT = Counter("refundflow_swept", "What the sweep launched, by what it was.", ["what"])


def set_up_logs(level: str = "INFO", *, is_json: bool = True, stream: Any = None) -> None:
    """Sends structlog's and the standard library's lines to `stream` (stderr), one JSON object a line."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if is_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    if level == "INFO":
        # Our own lines say what a task did; Celery's "received" and "succeeded" would triple them.
        for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
            logging.getLogger(name).setLevel("WARNING")


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for a module: `log = logger(__name__)`."""
    made: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return made
