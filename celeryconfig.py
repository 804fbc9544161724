"""Celery's settings: plain names, built from refundflow's settings, each non-default with its reason.

The reasons were measured: plain Celery loses or doubles work when a worker, Redis or PostgreSQL dies at the wrong moment.
Here rows in PostgreSQL are the truth; these settings make the messages prompt, and the sweep makes up for lost ones.
"""

from datetime import timedelta

from refundflow.domain.steps import QUEUE_OF, Queue, StepKind
from refundflow.settings import load
from refundflow.tasks import broker

_settings = load()
_url = _settings.broker_url.reveal()
_lease_s = _settings.pace.lease_s

broker_url = _url
result_backend = _settings.result_url.reveal()
imports = ("refundflow.tasks.work",)

# JSON only: a message can never run code, and every one can be read by a person.
task_serializer = result_serializer = "json"
accept_content = result_accept_content = ["json"]

# A message is acknowledged when its work is done, and comes back when its worker is lost: without both, killed workers
# lose tasks. What comes back twice is absorbed by the claim.
task_acks_late = True
task_reject_on_worker_lost = True
# A worker holds no more than it works on, so a dead or slow one keeps nothing else waiting.
worker_prefetch_multiplier = 1
# A cold shutdown first gives running vendor calls the time to come home.
worker_soft_shutdown_timeout = 20.0
# Tasks with a countdown sit in the worker; on shutdown they go back to the queue.
worker_enable_soft_shutdown_on_idle = True

# A child that hangs is killed before its lease runs out, so nobody else looks at the step while it still might act.
task_soft_time_limit = _lease_s * 0.8
task_time_limit = _lease_s * 0.9

task_queues = broker.queues(_url)
task_default_queue = Queue.ORDERS.value
task_create_missing_queues = (
    False  # a misspelt queue is an error at the publisher, not a list that nobody reads
)
task_routes = {
    **{f"refundflow.{kind.value}": {"queue": QUEUE_OF[kind].value} for kind in StepKind},
    "refundflow.intake": {"queue": Queue.INTAKE.value},
    "refundflow.sweep": {"queue": Queue.INTAKE.value},
    "refundflow.poll": {"queue": Queue.INTAKE.value},
    "refundflow.look_again": {"queue": Queue.LEDGER.value},
    "refundflow.settle": {"queue": Queue.ORDERS.value},
}

broker_transport_options = broker.transport_options(_url, longest_step_s=task_time_limit)
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker waits for its broker for as long as it takes
task_publish_retry_policy = broker.WORKER_PUBLISH

# A stalled Redis (not a dead one) would hang a worker for ever without these.
redis_socket_timeout = 5.0
redis_socket_connect_timeout = 2.0
redis_socket_keepalive = True
result_backend_always_retry = True
# Chords join through the results; one that expires before its header is done never runs its body. The audit does not
# depend on it: every run is kept in PostgreSQL under its Celery id.
result_expires = timedelta(days=2)
result_chord_expires = timedelta(days=2)
result_extended = True

# What Flower shows.
worker_send_task_events = True
task_send_sent_event = True
task_track_started = False

worker_hijack_root_logger = False  # one JSON object a line, set up in observe.py
worker_redirect_stdouts = False
timezone = "UTC"

beat_schedule = {
    "sweep": {
        "task": "refundflow.sweep",
        "schedule": timedelta(seconds=_settings.flow.sweep_s),
        # A sweep that waited longer than two turns is worth nothing; the next one does its work.
        "options": {"expires": 2 * _settings.flow.sweep_s, "ignore_result": True},
    }
}
beat_schedule_filename = f"{_settings.home}/beat-schedule"
