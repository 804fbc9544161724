"""What a broker's URL decides: the queues, the transport's options, and how patiently to publish.

Pure: nothing here connects or reads the environment. Checked against the sources of Celery 5.7.0 and kombu
5.7.0, and tried on Redis 6.2 and RabbitMQ 3.10 (docs/decisions/0002-dead-queue.md says why there is a queue
`dead`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from kombu import Exchange, Queue

WORK_QUEUES: Final = ("intake", "orders", "money", "ledger", "notify")
"""By risk, so that one of them (money, above all) can be braked or scaled on its own."""

DEAD: Final = "dead"
"""The queue of messages that cannot be decoded, routed or run. No worker consumes it; it is drained into
rows.
"""

LONGEST_COUNTDOWN_S: Final = 60.0
"""Longer waits are a due time in a row, because a message with a countdown is held, unacknowledged, by one
worker.
"""

LARGEST_PREFETCH: Final = 4
"""The largest `worker_prefetch_multiplier` of any worker (notify's): messages that wait behind one running
task.
"""

DELIVERY_LIMIT: Final = 20
"""Redeliveries on RabbitMQ after which the broker itself moves a message to `dead`.

RabbitMQ 4's own default. A task that kills its worker is parked earlier, by its row's counter; this is the
stop behind that one, and it is high enough for an innocent message to outlive a bad night of worker restarts.
"""

NEVER: Final = 2**31 - 1
"""A delivery limit that is never reached. RabbitMQ 4 has -1 for this, which RabbitMQ 3 refuses."""

INGEST_PUBLISH: Final[dict[str, float]] = {
    # One retry heals a pooled connection that the broker has closed meanwhile. More would only keep the
    # sender of a webhook waiting: its event is committed already, and the sweep enqueues what could not be
    # published.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}

WORKER_PUBLISH: Final[dict[str, float]] = {
    # About 35 s in all (0.2, 0.7, 1.2 … 5 s between tries): longer than the restart of a broker, so that a
    # wave is not left to the sweep for that; shorter than a step's hard time limit, which would kill the
    # publisher.
    "max_retries": 12,
    "interval_start": 0.2,
    "interval_step": 0.5,
    "interval_max": 5,
}

WORKER_PATIENCE_S: Final = 40.0
"""A little more than `WORKER_PUBLISH` waits in all, so that its own count of retries ends it."""


class Broker(Enum):
    REDIS = "redis"
    RABBITMQ = "rabbitmq"


class UnsupportedBrokerError(ValueError):
    """A broker URL of a scheme that refundflow is not tested with. Carries the scheme only: a URL holds a
    password.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__(scheme)
        self.scheme = scheme

    def __str__(self) -> str:
        return f"broker scheme {self.scheme!r} is not one of redis, rediss, amqp, amqps"


def broker_of(url: str) -> Broker:
    """Which broker a URL means. Raises `UnsupportedBrokerError`."""
    match urlsplit(url).scheme:
        case "redis" | "rediss":
            return Broker.REDIS
        case "amqp" | "amqps":
            return Broker.RABBITMQ
        case scheme:
            raise UnsupportedBrokerError(scheme)


def queues(url: str, prefix: str = "") -> list[Queue]:
    """Celery's `task_queues`: the work queues, then `dead`. Raises `UnsupportedBrokerError`.

    `prefix` is put before the names of queues and exchanges where installations share one RabbitMQ virtual
    host; the unprefixed name stays an alias, so routing and `-Q` do not change.
    """
    match broker_of(url):
        case Broker.REDIS:
            return [_redis_queue(name, prefix) for name in (*WORK_QUEUES, DEAD)]
        case Broker.RABBITMQ:
            return [*(_work_queue(name, prefix) for name in WORK_QUEUES), _dead_queue(prefix)]


def transport_options(url: str, longest_step_s: float, answer_within_s: float = 5.0) -> dict[str, object]:
    """Celery's `broker_transport_options`. Raises `UnsupportedBrokerError`.

    `longest_step_s`: the hard time limit of the slowest task. `answer_within_s`: how long a broker that has
    stalled may hold up one command; ingest may want less than a worker. `connect_retries_timeout`: kombu ends
    a publish's retries after `broker_connection_timeout` (4 s) where the producer has no connection yet,
    whatever the policy says.
    """
    match broker_of(url):
        case Broker.REDIS:
            return {
                # A message is unacknowledged while it waits out a countdown, then behind the prefetched ones,
                # then while it runs; sooner than that it would run twice. All workers must agree on it:
                # whichever of them sweeps applies its own value to everybody's messages.
                "visibility_timeout": LONGEST_COUNTDOWN_S + (LARGEST_PREFETCH + 1) * longest_step_s,
                # Look for abandoned messages every 5 s instead of every 100 s (kombu looks at each tenth call
                # only).
                "unacked_restore_interval": 5,
                "unacked_restore_throttle": 1,
                # Without it a publish to a stalled Redis hangs for ever. Longer than kombu's BRPOP of 1 s,
                # which answers within that time on an empty queue.
                "socket_timeout": answer_within_s,
                # A host that is gone refuses nothing; give up on it sooner than on one that is slow.
                "socket_connect_timeout": 2,
                # Notices a peer that vanished (failover, NAT) on connections that only wait.
                "socket_keepalive": True,
                "connect_retries_timeout": WORKER_PATIENCE_S,
            }
        case Broker.RABBITMQ:
            return {
                # A publish returns when the broker has the message on disk; without it, messages published
                # around a restart vanish and nobody is told.
                "confirm_publish": True,
                "connect_retries_timeout": WORKER_PATIENCE_S,
            }


def _redis_queue(name: str, prefix: str) -> Queue:
    """A plain list. Celery publishes to it by name, so it needs no binding and outlives a wiped Redis."""
    return Queue(
        prefix + name,
        Exchange(f"{prefix}refundflow", type="direct"),
        routing_key=prefix + name,
        alias=name if prefix else None,
    )


def _work_queue(name: str, prefix: str) -> Queue:
    dead = prefix + DEAD
    return Queue(
        prefix + name,
        # A topic exchange, because Celery delays messages for quorum queues through topic bindings; behind a
        # direct one every countdown occupies a worker's prefetch slot until it is due. What it cannot route
        # goes to `dead`.
        Exchange(f"{prefix}refundflow", type="topic", arguments={"alternate-exchange": dead}),
        routing_key=prefix + name,
        alias=name if prefix else None,
        queue_arguments={
            "x-queue-type": "quorum",  # replicated, counts deliveries
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": dead,
            # The message leaves its queue only when `dead` has confirmed it; the default may lose it on the
            # way.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",  # what at-least-once asks for; the queues have no length limit
        },
    )


def _dead_queue(prefix: str) -> Queue:
    """No dead-letter exchange (there is nowhere further to go) and no limit on how often it may be handed
    out.
    """
    return Queue(
        prefix + DEAD,
        Exchange(prefix + DEAD, type="fanout"),  # whatever its routing key was, it belongs here
        routing_key=prefix + DEAD,
        alias=DEAD if prefix else None,
        queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": NEVER},
    )
