"""The Celery application: made here, configured lazily by `celeryconfig.py`."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import setup_logging, task_postrun, task_prerun, worker_process_init

from refundflow import wiring
from refundflow.observe import set_up_logs
from refundflow.settings import load
from refundflow.tasks import poison

app = Celery("refundflow")
app.config_from_object("celeryconfig")
poison.install(app)


@setup_logging.connect
def _logs(**_: Any) -> None:
    settings = load()
    set_up_logs(settings.log_level, is_json=settings.is_log_json)


@worker_process_init.connect
def _after_fork(**_: Any) -> None:
    """A child must not share its parent's database connections; it builds its own on first use."""
    if wiring.house.cache_info().currsize:
        wiring.house().db.forget()


@task_prerun.connect
def _bind(task_id: str, task: Any, args: Any, **_: Any) -> None:
    structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name, subject=args[0] if args else None)


@task_postrun.connect
def _unbind(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()


def worker_name(request: Any) -> str:
    """Which process runs a task, as it is written into attempts: `celery@host/pid`."""
    return f"{request.hostname or 'cli'}/{os.getpid()}"
