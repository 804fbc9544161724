"""A real worker is fed every kind of poison: it must stay alive, keep each message once, and lose nothing
else.

RabbitMQ's turn comes when REFUNDFLOW_TEST_AMQP_URL is set; its queues get a prefix of their own and are
deleted again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult
from kombu import Connection, Producer
from kombu.message import Message

from refundflow.embedded.redis import EmbeddedRedis, NoRedisError
from refundflow.tasks import poison
from refundflow.tasks.poison import DeadMessage
from tests.integration.tasks import poison_app

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30
START_PATIENCE_S = 90
OF_THE_APP = ("-A", "tests.integration.tasks.poison_app")
OF_THE_WORKER = (
    "--concurrency=1",
    "--without-gossip",
    "--without-mingle",
    "--loglevel=INFO",
    "-Q",
    "money,dead",
)
GOOD_BODY = b'[["word"], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'


# --- A real Redis, a real worker ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    # Not in pytest's own folder: every session that starts closes that one to all but its owner.
    with tempfile.TemporaryDirectory(prefix="refundflow-poison-", ignore_cleanup_errors=True) as folder:
        try:
            running = EmbeddedRedis(Path(folder), is_throwaway=True).start()
        except NoRedisError as error:
            pytest.skip(str(error))
        yield running
        running.kill()


def _channel(connection: Connection) -> Any:
    """Its channel, of whichever transport: the stubs know neither."""
    return connection.default_channel


@dataclasses.dataclass(frozen=True)
class Rig:
    """A worker of `money` (and, by mistake, of `dead`), and the application to send to it. Nobody works on
    `orders`.
    """

    app: Celery
    worker: subprocess.Popen[bytes]
    redis: redis.Redis
    prefix: str

    def good_task(self, word: str) -> AsyncResult[Any]:
        return self.app.tasks["poison_app.echo"].delay(word)

    def assert_alive(self) -> None:
        """A task sent now runs, under the worker that was started; what was sent before it has been dealt
        with.
        """
        word = uuid.uuid4().hex
        assert self.good_task(word).get(timeout=PATIENCE_S) == [word, self.worker.pid]
        assert self.worker.poll() is None

    def drain(self, limit: int = 1000) -> list[DeadMessage]:
        kept: list[DeadMessage] = []
        assert poison.drain_dead(self.app, kept.append, limit) == len(kept)
        return kept

    def drain_broker_dead(self, count: int) -> list[DeadMessage]:
        """RabbitMQ moves its dead letters in its own time."""
        kept: list[DeadMessage] = []

        def are_here() -> bool:
            kept.extend(self.drain())
            return len(kept) >= count

        _wait_until(are_here, f"{count} dead letters")
        return kept

    def publish(self, body: bytes, queue: str = "money", exchange: str = "", **options: Any) -> None:
        """Publish past Celery."""
        with self.app.connection_for_write() as connection, Producer(connection) as producer:
            routing_key = self.prefix + queue
            producer.publish(body, exchange=exchange, routing_key=routing_key, **options)

    def waiting(self, name: str) -> int:
        with self.app.connection_for_read() as connection:
            queue = poison_app.queue_named(self.app, name)(_channel(connection))
            declared: Any = queue.queue_declare(passive=False)
            return int(declared.message_count)

    def assert_nothing_left(self) -> None:
        assert self.waiting("money") == 0
        assert self.waiting("dead") == 0
        if not self.prefix:
            assert self.redis.hlen("unacked") == 0
            assert self.redis.zcard("unacked_index") == 0


@pytest.fixture(
    scope="module", params=["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)], name="rig"
)
def _rig(
    request: pytest.FixtureRequest, server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    if request.param == "redis":
        broker_url, prefix = server.url_of(0), ""
    else:
        broker_url, prefix = os.environ.get("REFUNDFLOW_TEST_AMQP_URL", ""), f"poison-{uuid.uuid4().hex[:8]}."
        if not broker_url:
            pytest.skip("REFUNDFLOW_TEST_AMQP_URL is not set")
    results_url = server.url_of(1)
    app = poison_app.make_app(broker_url, results_url, prefix)
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", *OF_THE_APP, "worker", *OF_THE_WORKER],
            cwd=ROOT,
            env=_environment()
            | {"POISON_BROKER_URL": broker_url, "POISON_RESULTS_URL": results_url, "POISON_PREFIX": prefix},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with redis.Redis.from_url(server.url_of(0)) as client:
            _wait_until_ready(worker, log)
            rig = Rig(app, worker, client, prefix)
            rig.assert_alive()
            yield rig
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-8000:])
        raise
    finally:
        worker.terminate()
        worker.wait()
        if prefix:
            _delete_queues(app)
        app.close()


def _environment() -> dict[str, str]:
    """What a worker needs of ours. Celery's command line takes these names before the application's own word, and other
    tests, or a developer's shell, may have set them to somewhere else.
    """
    return {name: value for name, value in os.environ.items() if name not in ("BROKER_URL", "RESULT_URL")}


def _wait_until_ready(worker: subprocess.Popen[bytes], log: Path) -> None:
    """A worker's start is mostly imports: on a busy machine it takes longer than any answer may."""

    def is_ready() -> bool:
        words = log.read_text(errors="replace")
        assert worker.poll() is None, f"the worker ended at its start: {words[-2000:]}"
        return " ready." in words

    _wait_until(is_ready, "the worker to be ready", START_PATIENCE_S)


def _delete_queues(app: Celery) -> None:
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(_channel(connection)).delete()
        for name in {queue.exchange.name for queue in app.amqp.queues.values()}:
            _channel(connection).exchange_delete(name)


@pytest.fixture(name="redis_rig")
def _redis_rig(rig: Rig) -> Rig:
    if rig.prefix:
        pytest.skip("about Redis")
    return rig


@pytest.fixture(name="rabbitmq_rig")
def _rabbitmq_rig(rig: Rig) -> Rig:
    if not rig.prefix:
        pytest.skip("about RabbitMQ")
    return rig


def _wait_until(is_so: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=patience_s)
    while not is_so():
        assert datetime.now(UTC) < deadline, f"waited {patience_s} s for {what}"
        threading.Event().wait(0.05)


# --- Poison that any broker carries -------------------------------------------------------------------------


def _nested(levels: int) -> object:
    return [] if levels == 1 else [_nested(levels - 1)]


def _headers(**changes: object) -> dict[str, object]:
    good: dict[str, object] = {"id": uuid.uuid4().hex, "task": "poison_app.echo", "retries": 0, "lang": "py"}
    return good | changes


def _case(
    name: str,
    reason: str,
    body: bytes = GOOD_BODY,
    headers: dict[str, object] | None = None,
    content_type: str = "application/json",
    content_encoding: str = "utf-8",
) -> object:
    headers = _headers() if headers is None else headers
    options = {"headers": headers, "content_type": content_type, "content_encoding": content_encoding}
    return pytest.param(reason, body, options, id=name)


POISON = [
    _case("body cut short", "undecodable", b'[["wo'),
    _case("body of bytes that are no text", "undecodable", b"\xff\xfe\x00\x80"),
    _case("body nested too deep", "undecodable", b"[" * 100_000),
    _case("unheard-of encoding", "undecodable", content_type="application/data", content_encoding="klingon"),
    _case("encoding that does not lead back to the bytes", "wrong_shape", b"\xfe\xff\x00a", content_type="application/data", content_encoding="utf-16"),
    _case("unpacking fails", "undecodable", headers=_headers(compression="application/x-gzip")),
    _case("content type refused", "content_refused", b"\x80\x04]\x94.", content_type="application/x-python-serialize", content_encoding="binary"),
    _case("no headers at all", "not_a_task", headers={}),
    _case("somebody else's headers", "not_a_task", b"hello", headers={"from": "elsewhere"}, content_type="text/plain"),
    _case("message protocol 1", "not_a_task", b'{"task": "poison_app.echo", "id": "1", "args": ["x"], "kwargs": {}}', headers={}),
    _case("unknown task", "unknown_task", headers=_headers(task="poison_app.not_yet_deployed")),
    _case("task name that is no text", "unknown_task", headers=_headers(task={"name": "poison_app.echo"})),
    _case("payload null", "wrong_shape", b"null"),
    _case("payload a mapping", "wrong_shape", b'{"args": ["word"], "kwargs": {}}'),
    _case("payload a text", "wrong_shape", b'"abc"'),
    _case("payload too short", "wrong_shape", b'[["word"], {}]'),
    _case("payload empty", "wrong_shape", b""),
    _case("args no list", "wrong_shape", b'["word", {}, {}]'),
    _case("args null", "wrong_shape", b"[null, {}, {}]"),
    _case("kwargs no mapping", "wrong_shape", b'[["word"], [], {}]'),
    _case("options no mapping", "wrong_shape", b'[["word"], {}, []]'),
    _case("callbacks no list", "wrong_shape", b'[["word"], {}, {"callbacks": "x"}]'),
    _case("chord no mapping", "wrong_shape", b'[["word"], {}, {"chord": 7}]'),
    _case("no id", "wrong_shape", headers={"task": "poison_app.echo"}),
    _case("id no text", "wrong_shape", headers=_headers(id=[1])),
    _case("time limit no pair", "wrong_shape", headers=_headers(timelimit="soon")),
    _case("retries no number", "wrong_shape", headers=_headers(retries="many")),
    _case("ETA no moment", "wrong_shape", headers=_headers(eta="tomorrow-ish")),
    _case("ETA before the calendar", "wrong_shape", headers=_headers(eta="0001-01-01T00:00:00+14:00")),
    _case("expiry no moment", "wrong_shape", headers=_headers(expires={"in": 5})),
    _case("headers nested deep", "unknown_task", headers=_headers(task=_nested(30))),
    _case("strategy that raises", "refused", headers=_headers(task="poison_app.explosive")),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "body", "options"), POISON)
def test_poison_is_kept_once_with_its_bytes_and_the_worker_goes_on(
    rig: Rig, reason: str, body: bytes, options: dict[str, Any]
) -> None:
    before = datetime.now(UTC)
    rig.publish(body, **options)
    rig.assert_alive()
    [dead] = rig.drain()
    assert (dead.reason, dead.body, dead.queue) == (reason, body, f"{rig.prefix}money")
    assert before <= dead.died_at <= datetime.now(UTC)
    assert dead.died_at.tzinfo is UTC
    assert dead.content_type == options["content_type"]
    notes = ("refundflow-", "x-delivery-count")  # ours, and RabbitMQ's
    own = {name: value for name, value in dead.headers.items() if not name.startswith(notes)}
    assert own == options["headers"]
    assert dead.headers["refundflow-routing-key"] == f"{rig.prefix}money"
    assert dead.headers["refundflow-worker"].startswith("celery@")
    assert dead.headers["refundflow-error"]
    assert dead.headers["refundflow-content-encoding"] == options["content_encoding"]
    json.dumps(dead.headers, allow_nan=False)
    rig.assert_nothing_left()


def test_a_flood_of_poison_among_good_tasks_loses_neither(rig: Rig) -> None:
    floods = [POISON[number % len(POISON)].values for number in range(200)]  # type: ignore[attr-defined] # a ParameterSet
    good = []
    for number, (_reason, body, options) in enumerate(floods):
        rig.publish(body, **options | {"headers": options["headers"] | {"number": number}})
        if number % 10 == 0:
            good.append(rig.good_task(f"good {number}"))
    assert [result.get(timeout=PATIENCE_S)[0] for result in good] == [f"good {n}" for n in range(0, 200, 10)]
    rig.assert_alive()
    dead = rig.drain()
    assert sorted(message.headers["number"] for message in dead) == list(range(200))
    assert [message.body for message in dead] == [body for _reason, body, _options in floods]
    assert [message.reason for message in dead] == [reason for reason, _body, _options in floods]
    assert len({message.message_id for message in dead}) == 200
    rig.assert_nothing_left()


def test_a_message_that_could_not_be_stored_goes_back_and_keeps_its_id(rig: Rig) -> None:
    rig.publish(b"null", headers=_headers(), content_type="application/json", content_encoding="utf-8")
    rig.assert_alive()
    seen: list[DeadMessage] = []

    def store_and_fail(dead: DeadMessage) -> None:
        seen.append(dead)
        raise ConnectionError("the database went away")

    for _ in range(3):
        with pytest.raises(ConnectionError, match="the database went away"):
            poison.drain_dead(rig.app, store_and_fail, 10)
    [stored] = rig.drain()
    assert [dead.message_id for dead in seen] == [stored.message_id] * 3
    assert {dead.body for dead in seen} == {b"null"}
    rig.assert_nothing_left()


def test_a_drain_takes_no_more_than_its_limit(rig: Rig) -> None:
    for number in range(5):
        rig.publish(b"null", headers=_headers(number=number), content_type="application/json")
    rig.assert_alive()
    assert [len(rig.drain(2)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_mended_message_is_replayed_and_runs(rig: Rig) -> None:
    task_id = uuid.uuid4().hex
    headers = _headers(id=task_id, task="poison_app.ecco")
    rig.publish(GOOD_BODY, headers=headers, content_type="application/json", content_encoding="utf-8")
    rig.assert_alive()
    [dead] = rig.drain()
    mended = dataclasses.replace(dead, headers=dead.headers | {"task": "poison_app.echo"})
    poison.republish(rig.app, mended, "money")
    assert rig.app.AsyncResult(task_id).get(timeout=PATIENCE_S) == ["word", rig.worker.pid]
    rig.assert_nothing_left()


def test_a_replay_that_dies_again_is_another_dead_message(rig: Rig) -> None:
    rig.publish(b"null", headers=_headers(), content_type="application/json", content_encoding="utf-8")
    rig.assert_alive()
    [first] = rig.drain()
    poison.republish(rig.app, first, "money")
    rig.assert_alive()
    [second] = rig.drain()
    assert second.message_id != first.message_id
    assert (second.body, second.reason, second.queue) == (first.body, first.reason, first.queue)
    assert {"refundflow-replay"} == second.headers.keys() - first.headers.keys()
    rig.assert_nothing_left()


def test_a_replay_to_a_queue_that_nobody_declared_is_refused(rig: Rig) -> None:
    dead = DeadMessage("id", "undecodable", "money", {}, b"", "text/plain", datetime.now(UTC))
    with pytest.raises(poison.UnknownQueueError, match="'monney'"):
        poison.republish(rig.app, dead, "monney")


def test_text_that_postgresql_refuses_is_shown_as_escapes(rig: Rig) -> None:
    rig.publish(b"null", headers=_headers(note="a\0b"), content_type="application/json")
    rig.assert_alive()
    [dead] = rig.drain()
    assert dead.headers["note"] == "a\\x00b"


def test_a_countdown_still_goes_through_the_guard(rig: Rig) -> None:
    result = rig.app.tasks["poison_app.again"].delay("twice")
    assert result.get(timeout=PATIENCE_S) == ["twice", rig.worker.pid]
    rig.assert_nothing_left()


# --- Redis: items that are no envelope ----------------------------------------------------------------------


def _envelope(**changes: object) -> bytes:
    good: dict[str, object] = {
        "body": "W1sid29yZCJdLCB7fSwge31d",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": _headers(),
        "properties": _properties(),
    }
    return json.dumps({name: value for name, value in (good | changes).items() if value is not ...}).encode()


def _properties(**changes: object) -> dict[str, object]:
    good: dict[str, object] = {
        "delivery_tag": uuid.uuid4().hex,
        "delivery_info": {"exchange": "", "routing_key": "money"},
        "body_encoding": "base64",
        "delivery_mode": 2,
        "priority": 0,
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


STRANGERS = {
    "bytes that are no text": b"\xff\xfe garbage \x00",
    "nothing": b"",
    "text": b"hello",
    "null": b"null",
    "number": b"42",
    "list": b"[1, 2]",
    "text in JSON": b'"abc"',
    "empty mapping": b"{}",
    "JSON cut short": _envelope()[:-20],
    "JSON nested too deep": b"[" * 100_000,
    "a type that kombu revives and cannot": b'{"__type__": "datetime", "__value__": "never"}',
    "no properties": _envelope(properties=...),
    "properties null": _envelope(properties=None),
    "no delivery tag": _envelope(properties=_properties(delivery_tag=...)),
    "delivery tag a number": _envelope(properties=_properties(delivery_tag=7)),
    "no delivery info": _envelope(properties=_properties(delivery_info=...)),
    "no routing key": _envelope(properties=_properties(delivery_info={"exchange": ""})),
    "no headers": _envelope(headers=...),
    "headers null": _envelope(headers=None),
    "headers a list": _envelope(headers=["task"]),
    "headers nested too deep": _envelope(headers=_headers(deep=_nested(200))),
    "body a number": _envelope(body=5),
    "body a mapping": _envelope(body={"a": 1}),
    "body no base64": _envelope(body="abcde"),
    "body not ASCII": _envelope(body="é"),
    "body encoding unknown": _envelope(properties=_properties(body_encoding="rot13")),
    "body encoding a number": _envelope(properties=_properties(body_encoding=1)),
}


@pytest.mark.parametrize("item", STRANGERS.values(), ids=STRANGERS.keys())
def test_an_item_that_is_no_envelope_is_kept_and_the_worker_goes_on(redis_rig: Rig, item: bytes) -> None:
    redis_rig.redis.lpush("money", item)
    redis_rig.assert_alive()
    [dead] = redis_rig.drain()
    assert (dead.reason, dead.body, dead.queue) == ("not_an_envelope", item, "money")
    assert dead.headers["refundflow-error"]
    redis_rig.assert_nothing_left()


def test_an_envelope_made_by_hand_runs(redis_rig: Rig) -> None:
    task_id = uuid.uuid4().hex
    redis_rig.redis.lpush("money", _envelope(headers=_headers(id=task_id)))
    assert redis_rig.app.AsyncResult(task_id).get(timeout=PATIENCE_S) == ["word", redis_rig.worker.pid]


def test_equal_garbage_is_kept_as_often_as_it_came(redis_rig: Rig) -> None:
    redis_rig.redis.lpush("money", *[b"garbage"] * 200)
    redis_rig.assert_alive()
    dead = redis_rig.drain()
    assert [message.body for message in dead] == [b"garbage"] * 200
    assert len({message.message_id for message in dead}) == 200
    redis_rig.assert_nothing_left()


def test_garbage_at_a_priority_names_its_queue(redis_rig: Rig) -> None:
    redis_rig.redis.lpush("money\x06\x163", b"garbage")
    redis_rig.assert_alive()
    assert [(dead.queue, dead.body) for dead in redis_rig.drain()] == [("money", b"garbage")]


def test_garbage_put_straight_into_the_dead_queue_is_drained(redis_rig: Rig) -> None:
    redis_rig.redis.lpush("dead", b"garbage")
    redis_rig.assert_alive()
    [dead] = redis_rig.drain()
    assert (dead.reason, dead.body, dead.queue) == ("not_an_envelope", b"garbage", "dead")
    redis_rig.assert_nothing_left()


def test_garbage_whose_consumer_died_comes_back_as_it_was(redis_rig: Rig) -> None:
    redis_rig.redis.lpush("orders", b"garbage")
    seen = []
    for _ in range(2):  # closing the connection puts back what was not acknowledged
        with redis_rig.app.connection_for_read() as connection:
            message: Any = _channel(connection).basic_get("orders")
            flaw = poison.find_flaw(message, ())
            assert flaw is not None
            seen.append((message.body, flaw.reason, message.delivery_tag))
            assert redis_rig.redis.hlen("unacked") == 1
    assert seen[0][:2] == (b"garbage", poison.Reason.NOT_AN_ENVELOPE)
    assert seen[0] == seen[1]
    assert redis_rig.redis.llen("orders") == 1
    redis_rig.redis.delete("orders")


def test_what_cannot_be_kept_is_not_acknowledged_and_is_kept_later(redis_rig: Rig) -> None:
    redis_rig.redis.set("dead", "a text where a list should be: nothing can be pushed to it")
    redis_rig.publish(b"null", headers=_headers(), content_type="application/json", content_encoding="utf-8")
    redis_rig.redis.lpush("money", b"garbage")
    redis_rig.assert_alive()
    redis_rig.redis.delete("dead")
    for _ in range(2):  # waits for one, and leaves it in another list meanwhile
        assert redis_rig.redis.blmove("dead", "aside", PATIENCE_S, "RIGHT", "LEFT")
    redis_rig.redis.rename("aside", "dead")
    redis_rig.assert_alive()
    assert sorted(dead.body for dead in redis_rig.drain()) == [b"garbage", b"null"]
    redis_rig.assert_nothing_left()


@pytest.mark.parametrize(
    "item", [b"garbage", b"null", b"[1]", b"{}", _envelope(body="abcde"), _envelope(headers=None)]
)
def test_a_broadcast_that_cannot_be_read_does_not_kill(redis_rig: Rig, item: bytes) -> None:
    assert redis_rig.redis.publish("/0.celery.pidbox", item) == 1
    redis_rig.assert_alive()
    assert redis_rig.drain() == []


def test_a_wiped_redis_still_takes_the_dead(redis_rig: Rig) -> None:
    redis_rig.redis.flushdb()
    redis_rig.redis.lpush("money", b"garbage")
    redis_rig.assert_alive()
    assert [dead.body for dead in redis_rig.drain()] == [b"garbage"]


# --- RabbitMQ: what the broker itself moves -----------------------------------------------------------------


def test_a_message_that_is_rejected_is_moved_by_the_broker(rabbitmq_rig: Rig) -> None:
    rig = rabbitmq_rig
    body = zlib.compress(b"any bytes")
    headers = {"task": "x", "id": "1"}
    rig.waiting("orders")
    rig.publish(body, "orders", headers=headers, content_type="text/plain", content_encoding="binary")
    with rig.app.connection_for_read() as connection:
        message: Any = _channel(connection).basic_get(f"{rig.prefix}orders")
        _channel(connection).basic_reject(message.delivery_tag, requeue=False)
    [dead] = rig.drain_broker_dead(1)
    assert (dead.reason, dead.queue, dead.body) == ("rejected", f"{rig.prefix}orders", body)
    assert abs(dead.died_at - datetime.now(UTC)) < timedelta(seconds=PATIENCE_S)
    poison.republish(rig.app, dead, "orders")
    with rig.app.connection_for_read() as connection:
        again: Any = _channel(connection).basic_get(f"{rig.prefix}orders")
        _channel(connection).basic_ack(again.delivery_tag)
    assert (again.body, again.content_type) == (body, "text/plain")
    assert again.headers.keys() == {"task", "id", "refundflow-replay", "x-delivery-count"}
    assert again.headers["x-delivery-count"] == 0


def test_a_message_that_is_handed_out_too_often_is_moved_by_the_broker(rabbitmq_rig: Rig) -> None:
    rig = rabbitmq_rig
    rig.waiting("orders")
    rig.publish(b"killer", "orders", headers=_headers(), content_type="text/plain")
    deliveries = 0
    with rig.app.connection_for_read() as connection:
        while message := _channel(connection).basic_get(f"{rig.prefix}orders"):
            deliveries += 1
            _channel(connection).basic_reject(message.delivery_tag, requeue=True)
    assert deliveries == 21
    [dead] = rig.drain_broker_dead(1)
    assert (dead.reason, dead.queue, dead.body) == ("delivery_limit", f"{rig.prefix}orders", b"killer")


def test_a_message_for_no_queue_is_dead(rabbitmq_rig: Rig) -> None:
    rig = rabbitmq_rig
    rig.publish(b"lost", "nowhere", f"{rig.prefix}refundflow", headers=_headers(), content_type="text/plain")
    [dead] = rig.drain_broker_dead(1)
    assert (dead.reason, dead.queue, dead.body) == ("unroutable", f"{rig.prefix}nowhere", b"lost")


# --- The digest that makes two deliveries one row -----------------------------------------------------------


def _message(**changes: Any) -> Message:
    options: dict[str, Any] = {
        "body": b"null",
        "headers": {"id": "1", "task": "t"},
        "properties": {"delivery_tag": "a"},
        "delivery_info": {"exchange": "", "routing_key": "money"},
        "content_type": "application/json",
    }
    return Message(**options | changes)


def _id_of(message: Message) -> str:
    return poison.read_dead(message, {"money": "money"}, datetime(2026, 11, 23, tzinfo=UTC)).message_id


@pytest.mark.parametrize(
    "headers",
    [
        {"redelivered": True},
        {"x-delivery-count": 3},
        {"x-death": [{"queue": "money", "reason": "rejected"}], "x-first-death-queue": "money"},
        {"refundflow-reason": "undecodable", "refundflow-queue": "money"},
    ],
)
def test_what_a_redelivery_changes_does_not_change_the_id(headers: dict[str, Any]) -> None:
    assert _id_of(_message(headers={"id": "1", "task": "t"} | headers)) == _id_of(_message())


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"nul"},
        {"headers": {"id": "2", "task": "t"}},
        {"headers": {"id": "1", "task": "t", "retries": 1}},
        {"headers": {"id": "1", "task": "t", "refundflow-replay": "1"}},
        {"properties": {"delivery_tag": "b"}},
        {"content_type": "text/plain"},
        {"delivery_info": {"exchange": "", "routing_key": "orders"}},
    ],
)
def test_another_message_has_another_id(changes: dict[str, Any]) -> None:
    assert _id_of(_message(**changes)) != _id_of(_message())
