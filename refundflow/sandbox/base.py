"""The contract of a practice vendor, and what all of them share: calls, answers, book, faults, webhooks, the world.

A request travels: `app.py` makes a `Call` of it → `World.receive` finds the vendor's `Operation`, takes a `Fault` if one
waits for it → `Vendor.serve` checks who calls, acts, answers. The result is an `Answer`, or a `Cut` where the caller shall
see the connection end without one. Vendors know nothing of HTTP servers, so tests may call `World.receive` directly.

Errors: `RefusalError` carries a vendor's own error answer out of a handler; it never leaves `Vendor.serve`.
`NoSuchObjectError` (a LookupError) says that the person at the controls named something the vendor does not have.
"""

from __future__ import annotations

import http.client
import json
import queue
import random
import re
import string
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qsl, urlsplit

# One JSON object. What travels has no narrower static type; each vendor checks what it reads.
Record = dict[str, Any]

_BASE62: Final = string.ascii_letters + string.digits
_PAGE: Final = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class RefusalError(Exception):
    """A handler's way to end a call with the vendor's own error: `raise RefusalError(answer)`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class NoSuchObjectError(LookupError):
    """The control API named an object, vendor or topic that is not there; the message says which."""


# ---------------------------------------------------------------- calls and answers


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a vendor sees it.

    `path`: below the vendor's prefix, begins with "/". `query`: raw, without "?". `headers`: names in lower case.
    `ids`: what the route's template caught. `operation` and `fault` are filled in by `World.receive`. `request_id`: 14
    characters, one of its own for each call.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    ids: Mapping[str, str] = field(default_factory=dict)
    operation: str = ""
    fault: Fault | None = None
    request_id: str = field(default_factory=lambda: "".join(random.choices(_BASE62, k=14)))

    def has(self, kind: Kind) -> bool:
        """Whether this call carries a fault of that kind: `call.has(Kind.SLOW_PENDING)`."""
        return self.fault is not None and self.fault.kind is kind

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case, without parameters; empty when not sent."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def query_pairs(self) -> list[tuple[str, str]]:
        """The query's parameters in the order sent, decoded; blank values kept."""
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def form_pairs(self) -> list[tuple[str, str]]:
        """The body's form fields in the order sent, decoded; blank values kept."""
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    @property
    def json(self) -> Any:
        """The body read as JSON, or None where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body`: bytes and str are sent as they are, anything else as JSON (None: no body at all)."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def payload(self) -> bytes:
        """The body's bytes as they go over the wire."""
        match self.body:
            case None:
                return b""
            case bytes():
                return self.body
            case str():
                return self.body.encode()
            case _:
                return json.dumps(self.body, ensure_ascii=False).encode()


class How(StrEnum):
    """How a connection ends without an answer: `reset` at once, `hang` after holding it for `hold_s` seconds."""

    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Cut:
    """No answer will ever come. `hold_s`: how long the connection is kept open first (0 for a reset)."""

    how: How = How.RESET
    hold_s: float = 0.0


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a call turned out to be. `is_open`: needs no credentials (a token endpoint, say)."""

    name: str
    handle: Handler
    ids: Mapping[str, str] = field(default_factory=dict)
    is_open: bool = False


class Route:
    """One line of a vendor's routing table: `Route("GET", "/v1/refunds/{id}", "get_refund", self.get_refund)`.

    A `{name}` in the template catches one path segment; `Call.ids[name]` has it.
    """

    def __init__(
        self, method: str, template: str, operation: str, handle: Handler, *, is_open: bool = False
    ) -> None:
        self.method = method
        self.operation = operation
        self.handle = handle
        self.is_open = is_open
        parts = re.split(r"\{(\w+)\}", template)
        self._pattern = re.compile(
            "".join(
                f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts)
            )
        )

    def match(self, call: Call) -> Operation | None:
        """The operation where method and path are this route's, else None."""
        if call.method != self.method or not (found := self._pattern.fullmatch(call.path)):
            return None
        return Operation(self.operation, self.handle, found.groupdict(), self.is_open)


# ---------------------------------------------------------------- the book


class Book:
    """What really happened at one vendor, in order, append-only. Written at the moment of the effect, never on a replayed answer."""

    def __init__(self, vendor: str, clock: Callable[[], datetime]) -> None:
        self._vendor = vendor
        self._clock = clock
        self._lines: list[Record] = []
        self._lock = threading.Lock()

    def write(
        self,
        effect: str,
        *,
        id: str,
        amount_minor: int | None = None,
        currency: str | None = None,
        target: Mapping[str, Any] | None = None,
        reference: Any = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> None:
        """Adds a line.

        `effect`: a verb or noun of the vendor's ("refund", "cancel_order", "message"). `id`: the vendor's id of what came
        to be. `amount_minor`: minor units of `currency` (ISO 4217 in capitals). `target`: ids acted upon. `reference`: what
        the caller wrote on it (metadata, note, reference field), so that a test can find its own lines.
        """
        line = {
            "at": self._clock().isoformat(),
            "vendor": self._vendor,
            "effect": effect,
            "id": id,
            "amount_minor": amount_minor,
            "currency": currency,
            "target": dict(target or {}),
            "reference": reference,
            "idempotency_key": idempotency_key,
            **more,
        }
        with self._lock:
            self._lines.append(line)

    def lines(self, effect: str | None = None) -> list[Record]:
        """A copy of all lines, or of those with that effect."""
        with self._lock:
            return [dict(line) for line in self._lines if effect in (None, line["effect"])]

    def clear(self) -> None:
        """Empties the book; only a reset of the whole vendor may."""
        with self._lock:
            self._lines.clear()


# ---------------------------------------------------------------- faults


class Kind(StrEnum):
    """What can go wrong on demand.

    Carried out here for every vendor: latency, status, html, lost_reply, lost_request, refuse, refuse_auth.
    Carried out by the vendor's handler, which asks `call.has(…)`: slow_pending (the effect waits until settled) and
    late_failure (the effect succeeds; `Vendor.fail_late` turns it to failed when told to).
    """

    LATENCY = "latency"
    STATUS = "status"
    HTML = "html"
    LOST_REPLY = "lost_reply"
    LOST_REQUEST = "lost_request"
    REFUSE = "refuse"
    REFUSE_AUTH = "refuse_auth"
    LATE_FAILURE = "late_failure"
    SLOW_PENDING = "slow_pending"


@dataclass(slots=True)
class Fault:
    """One fault waiting for its calls.

    `vendor`, `operation`: which calls ("*" for all). `match`: only calls whose path, query or body contains this text.
    `skip`: matching calls to let pass first. `times`: how many calls it then hits. `latency_s` delays any kind.
    status and html: `status`, `headers`, `body` (default: the vendor's own shape); `is_after_effect` acts first, so that the answer lies about what happened.
    lost_reply and lost_request: `how` ("reset" or "hang") and `hold_s`. refuse and slow_pending: `code` may name which
    of the vendor's own errors or waiting reasons is meant.
    """

    kind: Kind
    vendor: str = "*"
    operation: str = "*"
    match: str = ""
    skip: int = 0
    times: int = 1
    latency_s: float = 0.0
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    is_after_effect: bool = False
    how: How = How.RESET
    hold_s: float = 30.0
    code: str = ""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Reads the control API's JSON. Raises ValueError that says what is wrong."""
        known = {each.name for each in fields(cls)}
        if strange := sorted(set(data) - known):
            raise ValueError(f"a fault has no {', '.join(strange)}; it has {', '.join(sorted(known))}")
        if "kind" not in data:
            raise ValueError(f"a fault needs a kind: one of {', '.join(Kind)}")
        for name in ("skip", "times", "latency_s", "status", "hold_s"):
            value = data.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"a fault's {name} is a number from 0 on, not {value!r}")
        return cls(**{**data, "kind": Kind(data["kind"]), "how": How(data.get("how", How.RESET))})

    def fits(self, vendor: str, operation: str, call: Call) -> bool:
        """Whether the call is one this fault waits for."""
        return (
            self.vendor in ("*", vendor)
            and self.operation in ("*", operation)
            and (
                not self.match
                or self.match in call.path
                or self.match in call.query
                or self.match.encode() in call.body
            )
        )


class Faults:
    """The queue of faults; the first one that fits a call is used up by it."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Queues a fault behind those already waiting."""
        with self._lock:
            self._waiting.append(fault)

    def take(self, vendor: str, operation: str, call: Call) -> Fault | None:
        """The fault for this call, counted down; None where none waits for it."""
        with self._lock:
            for fault in self._waiting:
                if not fault.fits(vendor, operation, call):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                self._waiting = [each for each in self._waiting if each.times > 0]
                return fault
        return None

    def waiting(self) -> list[Fault]:
        """Those not used up yet."""
        with self._lock:
            return list(self._waiting)

    def clear(self) -> None:
        """Drops every waiting fault."""
        with self._lock:
            self._waiting.clear()


# ---------------------------------------------------------------- webhooks


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a vendor tells about. `id` stays the same over copies and retries; `body`: the payload as JSON or bytes."""

    id: str
    topic: str
    body: Any

    @property
    def payload(self) -> bytes:
        """The body's bytes: what is signed is what is sent."""
        return (
            self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A signed request, ready to post."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a vendor sends its own events. `copies`: how often each is sent; `topics`: only these (empty: all);
    `retry_waits_s`: pauses before each further try, until a 2xx. `is_reordered` sends each pair of events in the wrong
    order (an event that stays alone for a second is sent as it is)."""

    url: str
    secret: str
    copies: int = 1
    topics: tuple[str, ...] = ()
    retry_waits_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)
    is_reordered: bool = False


Post = Callable[[str, Mapping[str, str], bytes], int]


def post(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """Posts and returns the status; 0 where no answer came (refused, reset, too slow: 5 s)."""
    parts = urlsplit(url)
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.netloc, timeout=5)
    try:
        path = parts.path or "/"
        connection.request("POST", f"{path}?{parts.query}" if parts.query else path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


class Webhooks:
    """Sends vendors' events in a background thread, so that no vendor's answer waits for its own webhook.

    The thread starts with the first event and ends with `close`. `log` is every attempt made: vendor, topic, event id, status.
    """

    def __init__(self, world: World, send: Post) -> None:
        self._world = world
        self._send = send
        self._subscriptions: dict[str, Subscription] = {}
        self._queue: queue.Queue[tuple[str, Event] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.log: deque[Record] = deque(maxlen=10_000)

    def subscribe(self, vendor: str, subscription: Subscription | None) -> None:
        """Sets, or with None ends, where the vendor's own events go. Raises NoSuchObjectError for an unknown vendor."""
        self._world.vendor(vendor)
        if subscription is None:
            self._subscriptions.pop(vendor, None)
        else:
            self._subscriptions[vendor] = subscription

    def emit(self, vendor: str, event: Event) -> None:
        """Queues an event for delivery; nothing happens where nobody subscribed."""
        subscription = self._subscriptions.get(vendor)
        if subscription is None or (subscription.topics and event.topic not in subscription.topics):
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sandbox-webhooks", daemon=True)
                self._thread.start()
        self._queue.put((vendor, event))

    def send_now(self, vendor: str, event: Event, url: str, secret: str) -> int:
        """One attempt, signed afresh; returns the status (0: no answer)."""
        signed = self._world.vendor(vendor).sign(event, url, secret)
        status = self._send(url, signed.headers, signed.body)
        self.log.append({"vendor": vendor, "topic": event.topic, "event_id": event.id, "status": status})
        return status

    def wait_idle(self) -> None:
        """Returns when every queued event was delivered or given up."""
        self._queue.join()

    def close(self) -> None:
        """Ends the thread after what is queued; safe to call twice."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout=10)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            for vendor, event in self._with_next(item):
                if (subscription := self._subscriptions.get(vendor)) is not None:
                    for _ in range(subscription.copies):
                        self._deliver(vendor, event, subscription)
                self._queue.task_done()
        self._queue.task_done()

    def _with_next(self, item: tuple[str, Event]) -> list[tuple[str, Event]]:
        subscription = self._subscriptions.get(item[0])
        if subscription is None or not subscription.is_reordered:
            return [item]
        try:
            following = self._queue.get(timeout=1.0)
        except queue.Empty:
            return [item]
        if following is None:
            # The end of the work is put back for the loop to see; the count of open tasks is kept straight.
            self._queue.put(None)
            self._queue.task_done()
            return [item]
        return [following, item]

    def _deliver(self, vendor: str, event: Event, subscription: Subscription) -> None:
        for wait_s in (*subscription.retry_waits_s, None):
            if 200 <= self.send_now(vendor, event, subscription.url, subscription.secret) < 300:
                return
            if wait_s is None or self._world.stopping.wait(wait_s):
                return


# ---------------------------------------------------------------- vendors and their world


class Vendor(ABC):
    """One practice vendor. Everything in it happens under `lock`; handlers are called with the lock held.

    A vendor gives: `name` (also its path prefix), `routes`, who may call (`authorise`), its own error shapes
    (`unauthorised`, `refuse`, `not_found`), `clear`, `seed`, and where it has them `settle`, `event_for` and `sign`.
    """

    name: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = threading.RLock()
        self.book = Book(self.name, world.clock)
        # What turns a success to a failure later, one per effect made under a late_failure fault.
        self.late: list[Callable[[], Record]] = []
        self.clear()

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """The routing table, first match wins; asked for on every call, so keep it a stored tuple."""

    @abstractmethod
    def clear(self) -> None:
        """Sets the state to empty; called by the constructor too, so it is where state is declared."""

    @abstractmethod
    def seed(self, data: Record) -> Record:
        """Makes the objects described and returns what was made, with ids. Raises ValueError for what it cannot read."""

    @abstractmethod
    def authorise(self, call: Call) -> Answer | None:
        """None where the caller may, else the vendor's refusal."""

    @abstractmethod
    def unauthorised(self, call: Call) -> Answer:
        """The vendor's answer to bad credentials, for faults of kind refuse_auth."""

    @abstractmethod
    def refuse(self, call: Call) -> Answer:
        """The vendor's own permanent error for this operation, for faults of kind refuse; `call.fault.code` may name one."""

    @abstractmethod
    def not_found(self, call: Call) -> Answer:
        """The vendor's answer to a path that it does not have."""

    def find(self, call: Call) -> Operation:
        """Which operation the call means; "unknown" where no route fits. A GraphQL vendor looks into the body instead."""
        for route in self.routes():
            if operation := route.match(call):
                return operation
        return Operation("unknown", self.not_found)

    # The hooks below do nothing by themselves, yet their arguments are the contract: hence ARG002 on their lines.

    def begin(self, call: Call) -> Answer | None:  # noqa: ARG002 (a hook)
        """Asked before anything happens: an answer here (a replay by idempotency key, a conflict) ends the call."""
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:  # noqa: ARG002 (a hook)
        """Told after the act, also where a fault made the answer; may store it under a key, or add headers."""
        return answer

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (a hook)
        """The vendor's own body for a status fault that brings none: what its 429 or 500 looks like."""
        return {"error": f"practice fault, status {status}"}

    def settle(self, data: Record) -> Record:  # noqa: ARG002 (a hook)
        """Moves an object on as time would ("status" and an id). Raises NoSuchObjectError, or ValueError for a wrong move."""
        raise NoSuchObjectError(f"{self.name} has nothing to settle")

    def event_for(self, topic: str, object_id: str) -> Event:
        """The event the vendor would send about that object. Raises NoSuchObjectError."""
        raise NoSuchObjectError(f"{self.name} sends no {topic!r} about {object_id!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (a hook)
        """The event as the vendor would post it, signed at this moment."""
        raise NoSuchObjectError(f"{self.name} sends no webhooks")

    def emit(self, event: Event) -> None:
        """Sends an event of our own to whoever subscribed; returns at once."""
        self.world.webhooks.emit(self.name, event)

    def fail_late(self) -> list[Record]:
        """Turns every effect made under a late_failure fault to failed; returns what was changed."""
        with self.lock:
            late, self.late = self.late, []
            return [fail() for fail in late]

    def reset(self) -> None:
        """Forgets everything, the book too."""
        with self.lock:
            self.book.clear()
            self.late.clear()
            self.clear()

    def mint(self, prefix: str = "", length: int = 24) -> str:
        """A fresh id in the vendor's form: prefix and base-62 characters. Never the same after a reset."""
        return prefix + "".join(random.choices(_BASE62, k=length))

    def serve(self, call: Call, operation: Operation) -> Answer:
        """Carries a call out, with the faults that change what happens or what is said.

        The lock is not held while a latency fault waits, so that a second call with the same key can meet the first.
        """
        with self.lock:
            if not operation.is_open and (refusal := self.authorise(call)) is not None:
                return refusal
            try:
                ready = self.begin(call)
            except RefusalError as refused:
                return refused.answer
            if ready is not None:
                return ready
        if call.fault is not None and call.fault.latency_s > 0:
            self.world.stopping.wait(call.fault.latency_s)
        with self.lock:
            return self._act(call, operation)

    def _act(self, call: Call, operation: Operation) -> Answer:
        """The act and its `finish`; what `finish` sees is what the vendor believes that it said."""
        fault = call.fault
        match fault:
            case Fault(kind=Kind.STATUS | Kind.HTML, is_after_effect=False):
                return self.finish(call, self._canned(call, fault))
            case Fault(kind=Kind.STATUS, status=500):
                # The vendor broke off after the act: a 500 is what it remembers.
                self._attempt(call, operation.handle)
                return self.finish(call, self._canned(call, fault))
            case Fault(kind=Kind.STATUS | Kind.HTML):
                # The answer comes from something in front of the vendor, which itself answered well.
                self.finish(call, self._attempt(call, operation.handle))
                return self._canned(call, fault)
            case Fault(kind=Kind.REFUSE):
                return self.finish(call, self._attempt(call, self.refuse))
            case Fault(kind=Kind.REFUSE_AUTH):
                return self.finish(call, self.unauthorised(call))
            case _:
                return self.finish(call, self._attempt(call, operation.handle))

    def _attempt(self, call: Call, handle: Handler) -> Answer:
        try:
            return handle(call)
        except RefusalError as refused:
            return refused.answer

    def _canned(self, call: Call, fault: Fault) -> Answer:
        if fault.kind is Kind.HTML:
            return Answer(fault.status, fault.body or _PAGE, fault.headers, "text/html")
        body = fault.body if fault.body is not None else self.failure(call, fault.status)
        return Answer(fault.status, body, fault.headers)


class World:
    """All practice vendors together, their faults, webhooks, and the list of every call received.

    `vendors`: the classes to build. `clock`: aware UTC now. `send`: posts a webhook and returns the status.
    """

    def __init__(
        self,
        vendors: Iterable[type[Vendor]],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        send: Post = post,
    ) -> None:
        self._clock = clock
        self.ahead = timedelta()
        self.stopping = threading.Event()
        self.faults = Faults()
        self.webhooks = Webhooks(self, send)
        # Bounded, so that a long rehearsal does not grow without end; the counts stay exact.
        self.calls: deque[Record] = deque(maxlen=20_000)
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self._lock = threading.Lock()
        self.vendors: dict[str, Vendor] = {each.name: each(self) for each in vendors}

    def clock(self) -> datetime:
        """Now, as the vendors have it: the real time, or so far ahead of it as a rehearsal wants."""
        return self._clock() + self.ahead

    def callers_clock(self) -> datetime:
        """Now, as those who call have it: they do not know that a rehearsal runs ahead, and sign with their own time."""
        return self._clock()

    def vendor(self, name: str) -> Vendor:
        """The vendor of that name. Raises NoSuchObjectError."""
        if name not in self.vendors:
            raise NoSuchObjectError(f"no vendor {name!r}; there are {', '.join(sorted(self.vendors))}")
        return self.vendors[name]

    def receive(self, name: str, call: Call) -> Answer | Cut:
        """Carries one call out at a vendor, faults included, and notes it in `calls` (status 0: no answer given)."""
        vendor = self.vendor(name)
        operation = vendor.find(call)
        fault = self.faults.take(name, operation.name, call)
        call = replace(call, ids=operation.ids, operation=operation.name, fault=fault)
        result: Answer | Cut
        match fault:
            case Fault(kind=Kind.LOST_REQUEST):
                result = _cut(fault)
            case Fault(kind=Kind.LOST_REPLY):
                vendor.serve(call, operation)
                result = _cut(fault)
            case _:
                result = vendor.serve(call, operation)
        self._note(name, call, result)
        return result

    def seed(self, data: Mapping[str, Record]) -> dict[str, Record]:
        """Seeds several vendors at once: `{"stripe": {…}, "shopify": {…}}`; returns what each made."""
        made = {}
        for name, described in data.items():
            vendor = self.vendor(name)
            with vendor.lock:
                made[name] = vendor.seed(described)
        return made

    def settle(self, name: str, data: Record) -> list[Record]:
        """Moves one object on; with nothing but the vendor named, carries out its late failures."""
        vendor = self.vendor(name)
        if not data:
            return vendor.fail_late()
        with vendor.lock:
            return [vendor.settle(data)]

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Does something in the background after a while, or never where the world ends before."""

        def wait_and_act() -> None:
            if not self.stopping.wait(delay_s):
                act()

        threading.Thread(target=wait_and_act, name="sandbox-later", daemon=True).start()

    def reset(self, name: str | None = None) -> None:
        """Forgets one vendor's state and book, or (None) everything but the subscriptions."""
        if name is not None:
            self.vendor(name).reset()
            return
        self.ahead = timedelta()
        for vendor in self.vendors.values():
            vendor.reset()
        self.faults.clear()
        self.webhooks.log.clear()
        with self._lock:
            self.calls.clear()
            self.counts.clear()

    def close(self) -> None:
        """Wakes whatever waits (latency, hanging connections, webhook pauses) and ends the webhook thread."""
        self.stopping.set()
        self.webhooks.close()

    def _note(self, name: str, call: Call, result: Answer | Cut) -> None:
        status = result.status if isinstance(result, Answer) else 0
        line = {
            "at": self.clock().isoformat(),
            "vendor": name,
            "operation": call.operation,
            "method": call.method,
            "path": call.path,
            "status": status,
            "fault": call.fault.kind if call.fault is not None else None,
        }
        with self._lock:
            self.calls.append(line)
            self.counts[name, call.operation, status] += 1


def _cut(fault: Fault) -> Cut:
    return Cut(How.RESET) if fault.how is How.RESET else Cut(How.HANG, fault.hold_s)
