"""A small Celery application for the poison tests: run by a real worker, and imported by the tests to send to
it.

Configured by the environment, because the worker is another process: POISON_BROKER_URL, POISON_RESULTS_URL,
POISON_PREFIX (before the names of queues).
"""

from __future__ import annotations

import os

from celery import Celery, Task
from kombu import Queue

from refundflow.tasks import poison
from refundflow.tasks.broker import queues, transport_options


def make_app(broker_url: str, results_url: str, prefix: str) -> Celery:
    app = Celery("poison_app", broker=broker_url, backend=results_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_transport_options=transport_options(broker_url, longest_step_s=60),
        task_acks_late=True,
        task_create_missing_queues=False,
        task_default_queue="money",
        task_queues=queues(broker_url, prefix),
        task_reject_on_worker_lost=True,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    poison.install(app)

    @app.task(name="poison_app.echo", shared=False)
    def echo(word: str) -> list[object]:
        """The word, and the process id of the worker: the parent of the process that runs this."""
        return [word, os.getppid()]

    @app.task(name="poison_app.again", bind=True, shared=False, max_retries=1)
    def again(self: Task[[str], list[object]], word: str) -> list[object]:
        """Retried once after a second, so that a countdown goes through the broker."""
        if not self.request.retries:
            raise self.retry(countdown=1)
        return [word, os.getppid()]

    @app.task(
        name="poison_app.explosive",
        shared=False,
        Strategy="tests.integration.tasks.poison_app:exploding_strategy",
    )
    def explosive() -> None:
        """Never runs: its strategy raises."""

    return app


def exploding_strategy(*_args: object, **_options: object) -> object:
    """A task strategy that fails on each message, with what kombu takes for a lost connection to Redis."""

    def handle(*_args: object, **_options: object) -> None:
        raise KeyError("strategy")

    return handle


def queue_named(app: Celery, name: str) -> Queue:
    return app.amqp.queues[name]


if "POISON_BROKER_URL" in os.environ:
    app = make_app(
        os.environ["POISON_BROKER_URL"], os.environ["POISON_RESULTS_URL"], os.environ.get("POISON_PREFIX", "")
    )
