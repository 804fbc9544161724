"""Messages that cannot be decoded, routed or run: kept in the queue `dead`, and never the end of a worker.

By default Celery deletes most of them after a line in the log, and dies of some. Here a worker judges each
message before Celery does (`find_flaw`); what it cannot run is published to `dead`, with its bytes as they
came and the reason in its headers, and acknowledged only then. `drain_dead` turns `dead` into rows;
`republish` sends a mended one again. Shaped by docs/decisions/0002-dead-queue.md.

Where a shapeless message would kill a worker (read in kombu 5.7.0 and Celery 5.7.0, 2026-11-23):

- `kombu.transport.redis.Channel._brpop_read` and `_get` parse a list's item as JSON, then `virtual.Message`
  takes `properties` and `delivery_tag` out of it. Nothing catches what these raise, and the item is off its
  list already. So `Channel` below hands its Redis client out with one more duty: an item that is no envelope
  is wrapped in one as it is read. From there on it is a message like any other, acknowledged, restored and
  counted by kombu's own code.
- `celery.worker.consumer.Consumer.create_task_handler` and the task's strategy catch three kinds of error and
  no other. So `KeepPoison` puts its own handler in front, and never lets them see a message of a wrong shape:
  an error deeper down, where a request already holds a slot of the pool, would cost that slot.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import redis
import structlog
from celery import Celery, bootsteps
from celery.utils.time import maybe_iso8601, maybe_make_aware, timezone
from kombu import Queue
from kombu import transport as kombu_transport
from kombu.asynchronous.timer import to_timestamp
from kombu.exceptions import ContentDisallowed
from kombu.message import Message
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from refundflow.tasks.broker import DEAD, INGEST_PUBLISH

PUT_BACK_AFTER_S: Final = 5.0
"""How long a message that could not be kept waits, unacknowledged, before it is tried again."""

CONFIRM_WITHIN_S: Final = 5.0
"""How long the broker may take to confirm that it has a dead message; the worker's event loop waits for it."""

DEEPEST: Final = 32
"""Levels of nesting in headers. Celery's own have three; a task's arguments are in the body, which is text
here.
"""

_OURS: Final = "refundflow-"
_WRAPPED: Final = _OURS + "wrapped"  # marks an item that was no envelope, and says why
_ID: Final = _OURS + "id"
_REASON: Final = _OURS + "reason"
_ERROR: Final = _OURS + "error"
_QUEUE: Final = _OURS + "queue"
_EXCHANGE: Final = _OURS + "exchange"
_ROUTING_KEY: Final = _OURS + "routing-key"
_DIED_AT: Final = _OURS + "died-at"
_WORKER: Final = _OURS + "worker"
_ENCODING: Final = _OURS + "content-encoding"
_REPLAY: Final = _OURS + "replay"  # outlives the next death: a replay that dies again is another death

# Headers that brokers add on the way; they differ between two deliveries of one message.
_OF_THE_JOURNEY: Final = re.compile(
    r"redelivered|x-(death|first-death|last-death|delivery-count|acquired-count)"
)

_log = structlog.get_logger(__name__)


class Reason(StrEnum):
    """Why a message is dead. A broker's own reasons (`rejected`, `delivery_limit`, …) stand beside these."""

    NOT_AN_ENVELOPE = "not_an_envelope"  # a Redis list's item that kombu never wrote
    UNDECODABLE = "undecodable"
    CONTENT_REFUSED = "content_refused"  # a content type that this installation does not accept
    NOT_A_TASK = "not_a_task"  # without Celery's headers
    UNKNOWN_TASK = "unknown_task"  # often a worker older than the publisher
    WRONG_SHAPE = "wrong_shape"  # args not a list, kwargs not a mapping, a header of the wrong type
    REFUSED = "refused"  # well shaped, and Celery's strategy for the task raised an error all the same
    UNROUTABLE = "unroutable"  # published to no queue, or straight to `dead`


@dataclass(frozen=True, slots=True)
class Flaw:
    reason: Reason
    error: str


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message that needs a person. All text is fit for PostgreSQL: no NUL, no lone surrogate.

    `message_id`: a digest, the same for every delivery of one message. `reason`: a `Reason`, or the broker's
    word. `queue`: where it was to be worked on. `headers`: JSON values; its own ones, and what is known of
    its death under `refundflow-…`. `body`: its bytes as they came. `died_at`: aware, UTC.
    """

    message_id: str
    reason: str
    queue: str
    headers: dict[str, Any]
    body: bytes
    content_type: str
    died_at: datetime


class UnknownQueueError(LookupError):
    """A queue that `task_queues` does not declare: a message published there would wait for nobody."""

    def __init__(self, queue: str) -> None:
        super().__init__(queue)
        self.queue = queue

    def __str__(self) -> str:
        return f"no queue {self.queue!r} in task_queues"


# --- What the rest of the house calls -----------------------------------------------------------------------


def install(app: Celery) -> None:
    """Make `app`'s workers keep poison. `task_queues` must be `broker.queues(…)`. Call it before anything
    connects.

    The transport is registered under kombu's own names, because everything that looks at a broker URL
    (fail-over, TLS for `rediss`, Flower) goes by them; `broker_transport` would change what those see.
    """
    for scheme in ("redis", "rediss"):
        kombu_transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
        kombu_transport._transport_cache.pop(scheme, None)  # type: ignore[attr-defined] # not in the stubs
    app.steps["consumer"].add(KeepPoison)


def drain_dead(app: Celery, keep: Callable[[DeadMessage], None], limit: int) -> int:
    """Take up to `limit` messages out of `dead`, one by one, and say how many were kept.

    `keep` must have stored its message for good when it returns; only then is the message acknowledged. When
    it raises, the message goes back and the error comes out of here. A message may come more than once (a
    drain that died between the two): store it once per `message_id`. Raises kombu's `OperationalError` where
    the broker cannot be reached.
    """
    dead = _find_queue(app, DEAD)
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
        channel: Any = connection.default_channel
        channel.auto_decode = False
        dead(channel).declare()
        for kept in range(limit):
            raw = channel.basic_get(dead.name, no_ack=False)
            if raw is None:
                return kept
            message = channel.message_to_python(raw)
            try:
                keep(read_dead(message, _names(app), datetime.now(UTC)))
            except BaseException:
                message.requeue()
                raise
            message.ack()
    return limit


def republish(app: Celery, dead: DeadMessage, queue: str) -> None:
    """Publish a dead message to `queue` again, mended (`dataclasses.replace`) or not, under its own headers.

    Returns when the broker has it. Raises `UnknownQueueError`, or kombu's `OperationalError` where the broker
    cannot be reached. It may die again, and is then another dead message, with an id of its own.
    """
    headers = {name: value for name, value in dead.headers.items() if _is_its_own(name)}
    _publish(
        app,
        _find_queue(app, queue),
        dead.body,
        headers | {_REPLAY: str(uuid.uuid4())},
        content_type=dead.content_type,
        content_encoding=_text(dead.headers.get(_ENCODING)),
        correlation_id=_text(headers.get("id")) or None,
    )


# --- Judging a message --------------------------------------------------------------------------------------


def find_flaw(message: Message, known_tasks: Container[str]) -> Flaw | None:
    """Why Celery could not run this message, or None. Decodes the body, which the message then remembers."""
    if _WRAPPED in message.headers:
        return Flaw(Reason.NOT_AN_ENVELOPE, str(message.headers[_WRAPPED]))
    if message.errors:
        return Flaw(Reason.UNDECODABLE, repr(message.errors[0][1]))
    match message.headers.get("task"):
        case None:
            return Flaw(Reason.NOT_A_TASK, "no header `task`")
        case str(name) if name in known_tasks:
            pass
        case name:
            return Flaw(Reason.UNKNOWN_TASK, f"no task {name!r} here")
    try:
        payload = message.decode()
    except ContentDisallowed as error:
        return Flaw(Reason.CONTENT_REFUSED, str(error))
    except Exception as error:  # noqa: BLE001 - decoders are third-party code and raise what they like
        return Flaw(Reason.UNDECODABLE, repr(error))
    misfit = _misfit_of_headers(message.headers) or _misfit_of_payload(payload)
    return Flaw(Reason.WRONG_SHAPE, misfit) if misfit else None


def _misfit_of_headers(headers: Mapping[str, Any]) -> str:
    """What in the headers is not as Celery's message protocol 2 has it; empty when all is well.

    https://docs.celeryq.dev/en/stable/internals/protocol.html (read 2026-11-23)
    """
    match headers.get("id"):
        case str(task_id) if task_id:
            pass
        case other:
            return f"header `id` is {other!r}"
    for name in ("root_id", "parent_id", "group", "shadow", "lang", "origin", "argsrepr", "kwargsrepr"):
        if not isinstance(headers.get(name), str | None):
            return f"header `{name}` is no text"
    for name in ("retries", "group_index", "replaced_task_nesting"):
        if not isinstance(headers.get(name), int | None):
            return f"header `{name}` is no integer"
    match headers.get("timelimit"):
        case None | [None | int() | float(), None | int() | float()]:
            pass
        case other:
            return f"header `timelimit` is {other!r}"
    for name in ("eta", "expires"):
        if not _is_moment(headers.get(name)):
            return f"header `{name}` is {headers[name]!r}"
    return ""


def _is_moment(text: object) -> bool:
    """Whether Celery can schedule by it: it rejects, and so deletes, a task whose ETA it cannot convert."""
    if text is None:
        return True
    try:
        moment = maybe_make_aware(maybe_iso8601(text))  # type: ignore[arg-type] # what it is, is the question
        to_timestamp(timezone.to_system(moment))
    except (TypeError, ValueError, AttributeError, OverflowError):
        return False
    return True


def _misfit_of_payload(payload: object) -> str:
    match payload:
        case [args, kwargs, embed]:
            pass
        case _:
            return f"the payload is no list of args, kwargs and options: {type(payload).__name__}"
    if not isinstance(args, list | tuple):
        return f"args are no list: {type(args).__name__}"
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        return f"kwargs are no mapping by name: {type(kwargs).__name__}"
    match embed:
        case None:
            return ""
        case dict():
            pass
        case _:
            return f"options are no mapping: {type(embed).__name__}"
    for name in ("callbacks", "errbacks", "chain"):
        if not isinstance(embed.get(name), list | tuple | None):
            return f"option `{name}` is no list"
    if not isinstance(embed.get("chord"), dict | None):
        return "option `chord` is no mapping"
    return ""


# --- The worker's part --------------------------------------------------------------------------------------


class KeepPoison(bootsteps.StartStopStep):
    """The consumer's step that judges each message before Celery, and keeps what cannot be run."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._consumer = consumer
        self._make_handler = consumer.create_task_handler
        consumer.create_task_handler = self._create_task_handler
        consumer.on_decode_error = self._on_decode_error
        consumer.on_invalid_task = self._on_invalid_task
        # A worker that consumed `dead` (all queues are consumed where -Q is not given) would keep what it
        # just kept.
        consumer.app.amqp.queues.deselect([DEAD])

    def start(self, consumer: Any) -> None:
        """Declare `dead` before anything can die: brokers drop a dead letter whose queue is not there."""
        channel = consumer.connection.default_channel
        # py-amqp would turn bodies into text by their declared encoding, and not every encoding leads back to
        # the bytes.
        channel.auto_decode = False
        _find_queue(consumer.app, DEAD)(channel).declare()

    def _create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        handle = self._make_handler(*args, **kwargs)
        known_tasks = self._consumer.strategies
        # kombu counts KeyError as a lost connection to Redis; coming out of a strategy it is a message's
        # fault.
        connection_errors = tuple(kind for kind in self._consumer.connection_errors if kind is not KeyError)

        def on_task_received(message: Message) -> None:
            try:
                flaw = find_flaw(message, known_tasks)
                if flaw is None:
                    handle(message)
                    return
            except connection_errors:
                raise
            except Exception as error:  # noqa: BLE001 - the worker must outlive whatever a strategy makes of a message
                flaw = Flaw(Reason.REFUSED, repr(error))
            self._keep(message, flaw)

        return on_task_received

    def _on_decode_error(self, message: Message, error: Exception) -> None:
        self._keep(message, Flaw(Reason.UNDECODABLE, repr(error)))

    def _on_invalid_task(self, _body: object, message: Message, error: Exception) -> None:
        self._keep(message, Flaw(Reason.REFUSED, repr(error)))

    def _keep(self, message: Message, flaw: Flaw) -> None:
        """Publish to `dead`, then acknowledge. Where that fails the message stays with the broker, and is
        tried again.
        """
        app = self._consumer.app
        obituary = write_obituary(message, flaw, _names(app), self._consumer.hostname, datetime.now(UTC))
        facts = {"message_id": obituary[_ID], "reason": flaw.reason.value, "queue": obituary[_QUEUE]}
        try:
            _publish(
                app,
                _find_queue(app, DEAD),
                _raw_body(message),
                _own_headers(message) | obituary,
                content_type=_text(message.content_type),
                content_encoding=_text(message.content_encoding),
            )
        except Exception as error:  # noqa: BLE001 - whatever stopped it, the message must not be lost, nor the worker
            _log.error("message.not_kept", error=repr(error), **facts)
            # After a pause, so that a `dead` that is full or forbidden does not make a storm of redeliveries.
            # The message takes up a place in the worker's prefetch meanwhile: the brake is meant.
            put_back = functools.partial(_tell_broker, message.requeue)
            self._consumer.timer.call_after(PUT_BACK_AFTER_S, self._consumer.call_soon, (put_back,))
        else:
            _log.warning("message.died", **facts)
            _tell_broker(message.ack)


def write_obituary(
    message: Message, flaw: Flaw, queues: Mapping[str, str], worker: str, now: datetime
) -> dict[str, str]:
    """The headers that a dead message is given. `queues`: names by routing key."""
    exchange = _text(message.delivery_info.get("exchange"))
    routing_key = _text(message.delivery_info.get("routing_key"))
    queue = _queue_of(routing_key, queues)
    return {
        _ID: _digest(message, queue),
        _REASON: flaw.reason.value,
        _ERROR: _clean(flaw.error)[:1000],
        _QUEUE: queue,
        _EXCHANGE: exchange,
        _ROUTING_KEY: routing_key,
        _DIED_AT: now.isoformat(),
        _WORKER: _clean(worker),
    }


def _tell_broker(word: Callable[[], None]) -> None:
    """Acknowledge or put back. Where the channel is gone the broker delivers the message again by itself."""
    try:
        word()
    except Exception as error:  # noqa: BLE001 - the connection's errors differ by transport, and none may kill the worker
        _log.warning("message.left_unacknowledged", error=repr(error))


# --- Reading `dead` -----------------------------------------------------------------------------------------


def read_dead(message: Message, queues: Mapping[str, str], now: datetime) -> DeadMessage:
    """A message out of `dead`: one that a worker kept, one that the broker moved there, or one that simply
    lies there.

    `queues`: names by routing key. `now`: the time of death where nothing tells it.
    """
    headers = message.headers
    match _last_death(headers.get("x-death")):
        case {"reason": str(brokers_reason), "queue": str(brokers_queue), **rest}:
            reason, queue, died_at = brokers_reason, brokers_queue, rest.get("time")
        case _:
            reason = Reason.NOT_AN_ENVELOPE.value if _WRAPPED in headers else Reason.UNROUTABLE.value
            queue = _queue_of(_text(message.delivery_info.get("routing_key")), queues)
            died_at = None
    queue = _text(headers.get(_QUEUE)) or queue
    death = {_WRAPPED: None, _ENCODING: message.content_encoding} | {
        _ERROR: headers.get(_ERROR, headers.get(_WRAPPED)),
    }
    return DeadMessage(
        message_id=_text(headers.get(_ID)) or _digest(message, queue),
        reason=_text(headers.get(_REASON)) or reason,
        queue=queue,
        headers={
            _clean(str(name)): _plain(value)
            for name, value in (headers | death).items()
            if value is not None or not name.startswith(_OURS)
        },
        body=_raw_body(message),
        content_type=_text(message.content_type),
        died_at=_moment(headers.get(_DIED_AT)) or _moment(died_at) or now,
    )


def _last_death(deaths: object) -> object:
    """RabbitMQ's newest note of a death, https://www.rabbitmq.com/docs/dlx (read 2026-11-23).

    A delayed message "expires" from one delay queue to the next; those are no deaths.
    """
    if not isinstance(deaths, list):
        return None
    return next(
        (death for death in deaths if isinstance(death, dict) and death.get("reason") != "expired"), None
    )


def _moment(value: object) -> datetime | None:
    match value:
        case str():
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                return None
        case datetime():
            moment = value
        case _:
            return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# --- Pieces -------------------------------------------------------------------------------------------------


def _publish(
    app: Celery,
    queue: Queue,
    body: bytes,
    headers: Mapping[str, Any],
    *,
    content_type: str,
    content_encoding: str,
    correlation_id: str | None = None,
) -> None:
    """Publish by the queue's name, past all bindings, so that a wiped Redis or a lost binding does not
    swallow it.
    """
    with app.producer_or_acquire() as producer:
        producer.publish(
            body,
            exchange="",
            routing_key=queue.name,
            declare=[queue],
            mandatory=True,
            delivery_mode=2,
            headers=dict(headers),
            content_type=content_type or "application/octet-stream",
            content_encoding=content_encoding or "binary",
            correlation_id=correlation_id,
            confirm_timeout=CONFIRM_WITHIN_S,
            retry=True,
            retry_policy=INGEST_PUBLISH,
        )


def _find_queue(app: Celery, name: str) -> Queue:
    for queue in app.amqp.queues.values():
        if name in (queue.name, queue.alias):  # type: ignore[attr-defined] # the stubs leave `alias` out
            return queue
    raise UnknownQueueError(name)


def _names(app: Celery) -> dict[str, str]:
    return {queue.routing_key: queue.name for queue in app.amqp.queues.values()}


def _queue_of(routing_key: str, queues: Mapping[str, str]) -> str:
    """The queue that a routing key led to. RabbitMQ's delays leave their bits in front of it
    (`0.0.1.….money`).
    """
    for key, queue in queues.items():
        if routing_key == key or routing_key.endswith(f".{key}"):
            return queue
    return routing_key


def _is_its_own(header: str) -> bool:
    """Whether the publisher gave it, rather than the journey or the death of the message."""
    return header == _REPLAY or not (header.startswith(_OURS) or _OF_THE_JOURNEY.match(header))


def _own_headers(message: Message) -> dict[str, Any]:
    headers = {name: value for name, value in message.headers.items() if _is_its_own(name)}
    if not message.errors:
        headers.pop("compression", None)  # the body has been unpacked already, and is kept so
    return headers


def _raw_body(message: Message) -> bytes:
    body: Any = message.body
    match body:
        case None:
            return b""
        case str():
            return body.encode("utf-8", "surrogatepass")
        case _:
            return bytes(body)


def _digest(message: Message, queue: str) -> str:
    """One message's name: the same when it is delivered again, another for another message.

    kombu's `delivery_tag` on Redis stays with a message for life. RabbitMQ's does not, so there two messages
    without any id, and equal to the byte, are one.
    """
    properties = message.properties
    facts = [
        queue,
        *(_plain(properties.get(name)) for name in ("correlation_id", "message_id", "delivery_tag")),
        _plain(message.content_type),
        _plain(message.content_encoding),
        _plain(
            {name: value for name, value in message.headers.items() if name == _WRAPPED or _is_its_own(name)}
        ),
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(_raw_body(message))
    return digest.hexdigest()


def _plain(value: object, levels: int = DEEPEST) -> Any:
    """The value as JSON that PostgreSQL's jsonb takes."""
    match value:
        case dict() | list() | tuple() if levels == 0:
            return "(nested too deep)"
        case dict():
            return {_clean(str(name)): _plain(item, levels - 1) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item, levels - 1) for item in value]
        case str():
            return _clean(value)
        case datetime():
            return value.isoformat()
        case None | bool() | int():
            return value
        case float() if value - value == 0:  # neither NaN nor infinite
            return value
        case _:
            return _clean(repr(value))


def _text(value: object) -> str:
    return _clean(value) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """Text without what PostgreSQL refuses: NUL and lone surrogates, shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


# --- Redis: an item that is no envelope ---------------------------------------------------------------------


def wrap_stranger(item: bytes, queue: str) -> bytes:
    """The item itself where it is an envelope that kombu can deliver and restore, else one made around its
    bytes.
    """
    why = _flaw_of_item(item)
    if not why:
        return item
    envelope = {
        "body": base64.b64encode(item).decode(),
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "headers": {_WRAPPED: why},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
        },
    }
    return json.dumps(envelope).encode()


def _flaw_of_item(item: bytes) -> str:
    try:
        envelope = loads(bytes_to_str(item))
    except Exception as error:  # noqa: BLE001 - kombu's JSON revives types by name, whose constructors raise what they like
        return _clean(repr(error))[:1000]
    return _flaw_of_envelope(envelope)


def _flaw_of_envelope(envelope: object) -> str:
    """What kombu would stumble over when it delivers the envelope or, after a worker's death, restores it."""
    if not _is_shallow(envelope, DEEPEST):
        return f"nested deeper than {DEEPEST} levels"
    match envelope:
        case {
            "headers": dict(),
            "properties": {
                "delivery_tag": str(),
                "delivery_info": {"exchange": str(), "routing_key": str(), **_more_info},
                **properties,
            },
            **rest,
        }:
            return _flaw_of_body(rest.get("body"), properties.get("body_encoding"))
        case _:
            return "no envelope of kombu's: headers, properties, delivery_tag or delivery_info are missing"


def _is_shallow(value: object, levels: int) -> bool:
    """Whether it can be walked and written again: what JSON could only just read, nothing can write."""
    match value:
        case dict():
            return levels > 0 and all(_is_shallow(item, levels - 1) for item in value.values())
        case list():
            return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
        case _:
            return True


def _flaw_of_body(body: object, encoding: object) -> str:
    match body, encoding:
        case None | str(), None | "" | "utf-8":
            return ""
        case None, "base64":
            return ""
        case str(), "base64":
            try:
                base64.b64decode(body, validate=True)  # kombu's own decoding skips what is not base64
            except ValueError as error:
                return f"body: {error}"
            return ""
        case _:
            return f"body of {type(body).__name__} with body_encoding {encoding!r}"


class _WrapsStrangers:
    """What our Redis clients do beside kombu's: look at each item that a consumer pops off a list.

    kombu sends BRPOP past `execute_command` and reads the answer with `parse_response`; RPOP goes through the
    former.
    """

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[misc] # a mix-in: Redis has it
        match command_name, answer:
            case "BRPOP", (bytes(key), bytes(item)):
                # The list of a priority is the queue's name, a separator, and the priority.
                queue = bytes_to_str(key).split(kombu_redis.Channel.sep, 1)[0]
                return key, wrap_stranger(item, queue)
            case _:
                return answer

    def execute_command(self, *args: Any, **options: Any) -> Any:
        answer = super().execute_command(*args, **options)  # type: ignore[misc] # a mix-in: Redis has it
        match args, answer:
            case ("RPOP", key), bytes(item):
                return wrap_stranger(item, str(key).split(kombu_redis.Channel.sep, 1)[0])
            case _:
                return answer


class Client(_WrapsStrangers, redis.Redis):
    """redis-py's client, for the transport below."""


class PrefixedClient(_WrapsStrangers, kombu_redis.PrefixedStrictRedis):
    """The same under kombu's option `global_keyprefix`."""


class Channel(kombu_redis.Channel):
    """kombu's Redis channel, whose consumers meet envelopes only."""

    def _get_client(self) -> Any:
        # Refuses a redis-py that is too old.
        super()._get_client()  # type: ignore[misc] # private, so the stubs leave it out
        if self.global_keyprefix:
            return functools.partial(PrefixedClient, global_keyprefix=self.global_keyprefix)
        return Client

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        """Broadcasts (remote control, events) are nobody's to keep: one that cannot be delivered is dropped."""
        why = _flaw_of_envelope(message)
        if why:
            _log.warning("broadcast.dropped", exchange=exchange, error=why)
            return False
        delivered: bool = super()._deliver_fanout_message(message, exchange)  # type: ignore[misc] # the same
        return delivered


class Transport(kombu_redis.Transport):
    """kombu's Redis transport with the channel above; `install` puts it under `redis` and `rediss`."""

    Channel = Channel
