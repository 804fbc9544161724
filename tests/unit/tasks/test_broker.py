"""The broker's settings, as Celery and kombu will read them."""

from __future__ import annotations

import pytest
from kombu import Connection, Queue
from kombu.transport.redis import Channel
from kombu.utils.functional import fxrange

from refundflow.tasks import broker

REDIS = "redis://127.0.0.1:6379/0"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


def _case(url: str, expected: broker.Broker) -> object:
    return pytest.param(url, expected, id=url.split(":", 1)[0])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        _case("redis://localhost/0", broker.Broker.REDIS),
        _case("rediss://:secret@redis.example:6380/1?ssl_cert_reqs=required", broker.Broker.REDIS),
        _case("amqp://user:secret@rabbit.example//", broker.Broker.RABBITMQ),
        _case("amqps://user:secret@rabbit.example/shop", broker.Broker.RABBITMQ),
    ],
)
def test_a_url_says_which_broker_it_means(url: str, expected: broker.Broker) -> None:
    assert broker.broker_of(url) is expected


@pytest.mark.parametrize("url", ["sqs://key:topsecret@", "memory://", "localhost:6379", ""])
def test_an_unknown_scheme_is_refused_without_telling_the_password(url: str) -> None:
    for read in (broker.queues, lambda url: broker.transport_options(url, 60)):
        with pytest.raises(
            broker.UnsupportedBrokerError, match="is not one of redis, rediss, amqp, amqps"
        ) as refusal:
            read(url)
        assert "topsecret" not in str(refusal.value)


@pytest.mark.parametrize("url", [REDIS, RABBITMQ])
def test_there_is_one_queue_per_risk_and_one_for_the_dead(url: str) -> None:
    assert [queue.name for queue in broker.queues(url)] == [
        "intake",
        "orders",
        "money",
        "ledger",
        "notify",
        "dead",
    ]
    assert all(queue.durable for queue in broker.queues(url))
    assert all(queue.routing_key == queue.name for queue in broker.queues(url))


@pytest.mark.parametrize("url", [REDIS, RABBITMQ])
def test_a_prefix_goes_before_every_name_and_the_plain_name_stays_an_alias(url: str) -> None:
    prefixed = broker.queues(url, "shop1.")
    assert [queue.name for queue in prefixed] == [f"shop1.{queue.name}" for queue in broker.queues(url)]
    assert [_alias(queue) for queue in prefixed] == [queue.name for queue in broker.queues(url)]
    assert all(queue.exchange.name.startswith("shop1.") for queue in prefixed)
    dead_letters = {(queue.queue_arguments or {}).get("x-dead-letter-exchange") for queue in prefixed}
    assert dead_letters <= {None, "shop1.dead"}


def test_queues_on_redis_are_plain_lists_behind_a_direct_exchange() -> None:
    for queue in broker.queues(REDIS):
        assert queue.exchange.type == "direct"
        assert queue.queue_arguments is None


def test_work_queues_on_rabbitmq_are_quorum_queues_that_dead_letter_safely() -> None:
    *work, _dead = broker.queues(RABBITMQ)
    assert len(work) == 5
    for queue in work:
        assert queue.queue_arguments == {
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def test_work_on_rabbitmq_goes_through_a_topic_exchange_whose_unroutable_messages_are_dead() -> None:
    """Celery's native delays need topic bindings: behind a direct exchange a countdown would hold a prefetch
    slot.
    """
    *work, _dead = broker.queues(RABBITMQ)
    assert {queue.exchange.name for queue in work} == {"refundflow"}
    assert {queue.exchange.type for queue in work} == {"topic"}
    assert [queue.exchange.arguments for queue in work] == [{"alternate-exchange": "dead"}] * 5


def test_the_dead_queue_on_rabbitmq_lets_nothing_go() -> None:
    *_work, dead = broker.queues(RABBITMQ)
    assert dead.exchange.type == "fanout"
    assert dead.queue_arguments == {"x-queue-type": "quorum", "x-delivery-limit": 2_147_483_647}


def test_a_message_on_redis_is_not_redelivered_while_it_may_still_be_running() -> None:
    options = broker.transport_options(REDIS, longest_step_s=60)
    assert options["visibility_timeout"] == 360  # a countdown of 60 s, four before it and itself at 60 s each


def test_options_on_redis() -> None:
    options = broker.transport_options(REDIS, longest_step_s=30, answer_within_s=2)
    assert options == {
        "visibility_timeout": 210,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "connect_retries_timeout": 40,
    }


def test_options_on_rabbitmq_confirm_each_publish() -> None:
    assert broker.transport_options(RABBITMQ, longest_step_s=60) == {
        "confirm_publish": True,
        "connect_retries_timeout": 40,
    }


def test_every_option_for_redis_is_one_that_kombu_reads() -> None:
    """kombu drops an option that it does not know without a word."""
    connection = Connection(REDIS, transport_options=broker.transport_options(REDIS, 60))
    for_connecting = {"connect_retries_timeout"}
    assert connection._extract_failover_opts() == {"timeout": 40}
    options = set(connection.transport_options or ())
    assert options - for_connecting <= set(Channel.from_transport_options)


def _waits(policy: dict[str, float]) -> float:
    """Seconds slept by `kombu.utils.functional.retry_over_time` until it gives up."""
    start, step, ceiling = policy["interval_start"], policy["interval_step"], policy["interval_max"]
    intervals = fxrange(start, ceiling + start, step, repeatlast=True)
    return sum(min(next(intervals), ceiling) for _ in range(int(policy["max_retries"])))


def test_ingest_gives_up_publishing_almost_at_once() -> None:
    assert broker.INGEST_PUBLISH["max_retries"] == 1
    assert _waits(broker.INGEST_PUBLISH) == pytest.approx(0)


def test_a_worker_publishes_patiently_enough_for_a_broker_to_restart() -> None:
    assert _waits(broker.WORKER_PUBLISH) == pytest.approx(34.5)
    assert broker.WORKER_PATIENCE_S > 34.5


def _alias(queue: Queue) -> object:
    return vars(queue)["alias"]
