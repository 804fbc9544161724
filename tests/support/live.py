"""The whole system, running, for tests that break it: real servers, real processes, practice vendors with their books."""

from __future__ import annotations

import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

import psutil
import redis

from refundflow.demo.agreement import compare
from refundflow.demo.scenes import Line, Payment, Scene, World
from refundflow.demo.stack import API_KEY, Stack
from refundflow.embedded.supervisor import NotRunningError, Program, Supervisor
from refundflow.store.db import Database, rows

T = TypeVar("T")
Record = dict[str, Any]

GENUINE: Final = "refundflow"
SEAMS: Final = "tests.support.seam_app"
LEASE_S: Final = 3.0

#: The shop's rules, in a hurry: a dead worker's step is looked at after three seconds instead of ninety.
CONFIG: Final = f"""
[shop]
name = "Fault Shop"
support_email = "help@practice.example"

[policy]
version = "faults-1"
auto_approve_limit = {{ EUR = "500.00", USD = "500.00", GBP = "500.00" }}

[routing]
order_platform = "shopify"
payers = {{ shopify_payments = "shopify", stripe = "stripe" }}
stock_owner = "shopify"
stock_location = "gid://shopify/Location/7001"
books = "xero"
customer_channel = "mailgun"
staff_channel = "slack"
staff_to = "C0PRACTICE"
refund_account_code = "092"
invoice_number = "INV-{{number}}"

[pace]
lease_s = {LEASE_S}
first_s = 0.3
look_first_s = 0.3
settle_grace_s = 1.5
sweep_grace_s = 1.0
max_crashes = 3

[flow]
sweep_s = 0.5
relaunch_s = 3.0
rate_factor = 100.0
time_factor = 0.05
"""

_TABLES: Final = (
    "events, cases, case_sources, facts, decisions, payments, steps, attempts, audit, chain_heads, journal_entries,"
    " journal_lines, messages_sent, approvals, task_runs, dead_messages, connector_health"
)


class TooLateError(AssertionError):
    """What a test waited for did not come. Says what, and how everything stood then."""


@dataclass
class Live:
    """A running system under a test's hand. `orders`: what the present test has in the practice shop."""

    stack: Stack
    seams: Path
    database: Database
    workers: Supervisor | None = None
    app: str = ""
    world: World = field(default_factory=lambda: World(()))
    next_number: int = 10_001
    began_at: str = ""
    pause: Event = field(default_factory=Event)

    # ------------------------------------------------------------ the ground

    def run_workers(self, app: str) -> None:
        """Makes sure that exactly the workers of this application run, and take part."""
        if self.app == app:
            return
        self.stop_workers()
        programs = [
            Program(
                name,
                f"{sys.executable} -m celery -A {app} worker -Q {queues} -n {name}@%h -c {children}"
                " --without-gossip --without-mingle -l WARNING",
            )
            for name, queues, children in (("work", "intake,orders,ledger,notify", 2), ("money", "money", 1))
        ]
        environment = {**self.stack.environment, "REFUNDFLOW_SEAMS": str(self.seams)}
        self.workers = Supervisor(programs, self.stack.home, environment=environment, grace_s=5.0).start()
        self.app = app

    def stop_workers(self) -> None:
        if self.workers is not None:
            self.workers.stop()
        self.workers, self.app = None, ""

    def begin(self, *scenes: Scene) -> list[Order]:
        """An empty shop, empty books and empty tables; then these scenes, each with an order number never used before."""
        self.open_gates()
        self.stack.control("DELETE", "faults")
        for vendor in ("stripe", "shopify", "mailgun", "slack"):
            self.stack.control("POST", "reset", {"vendor": vendor})
        # Xero keeps its tokens, and so its book: with them gone the workers' next call would be turned away, and a fault
        # meant for the act would be used up by the refusal.
        self.began_at = datetime.now(UTC).isoformat()
        with self.database.transaction() as connection:
            # What is append-only in the shop's life ends with the test.
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql(f"TRUNCATE {_TABLES}")
        self.world = World(scenes, first_number=self.next_number)
        self.next_number += len(scenes)
        seed = self.world.seed()
        # A cancel's job has run when it is looked at: how long a shop takes over it is not what these tests are about.
        seed["shopify"].update(cancel_after_reads=0, cancel_within_s=0.0)
        self.stack.control("POST", "seed", seed)
        self.stack.subscribe()
        return [Order(self, scene) for scene in scenes]

    def fault(self, vendor: str, operation: str, kind: str, **more: Any) -> None:
        self.stack.control("POST", "faults", {"vendor": vendor, "operation": operation, "kind": kind, **more})

    def ask_all(self, orders: Iterable[Order], *, threads: int = 4) -> None:
        """Asks for many cancellations at once; each must be taken."""
        with ThreadPoolExecutor(threads) as pool:
            answers = list(pool.map(lambda order: order.ask(), orders))
        assert {status for status, _ in answers} <= {202}

    # ------------------------------------------------------------ breaking things

    def arm(self, seams: str, action: str, how: str, *, times: int = 1) -> None:
        """Arms a gate, or several of which the first one reached acts; the workers must be those of `SEAMS`.

        `seams`: joined by `-`; `how`: child | worker (who is killed) | hold (until `go`).
        """
        assert self.app == SEAMS
        draft = self.seams / "draft"
        draft.write_text(json.dumps({"how": how, "times": times}), encoding="utf-8")
        draft.rename(self.seams / f"armed-{action}-{seams}.json")

    def open_gates(self) -> None:
        for left in (*self.seams.glob("armed-*"), *self.seams.glob("taken-*"), *self.seams.glob("reached")):
            left.unlink(missing_ok=True)
        (self.seams / "go").unlink(missing_ok=True)

    def reached(self) -> list[str]:
        """Which gates acted, in order: `seam action`."""
        try:
            return (self.seams / "reached").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def go(self) -> None:
        """Lets whoever is held at a gate go on."""
        (self.seams / "go").touch()

    def kill_worker(self, name: str) -> None:
        """SIGKILL for a worker and all its children."""
        assert self.workers is not None
        self.workers.kill(name, signal.SIGKILL)

    def kill_worker_if_running(self, name: str) -> None:
        """As `kill_worker`; one that waits for its restart just now is dead enough."""
        with suppress(NotRunningError):
            self.kill_worker(name)

    def kill_children(self, name: str) -> int:
        """SIGKILL for the pool children that a worker has just now; how many there were."""
        assert self.workers is not None
        try:
            children = psutil.Process(self.workers.pid_of(name)).children()
        except (NotRunningError, psutil.NoSuchProcess):
            return 0
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return len(children)

    @contextmanager
    def no_redis(self) -> Iterator[None]:
        self.stack.redis.kill()
        try:
            yield
        finally:
            self.stack.redis.restart(wipe=True)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stack.redis.url)

    # ------------------------------------------------------------ looking

    def rows(self, sql: str, **values: Any) -> list[Record]:
        return self.database.run(lambda connection: rows(connection, sql, **values))

    def book(self, vendor: str, effect: str) -> list[Record]:
        found: list[Record] = self.stack.control("GET", f"book/{vendor}?effect={effect}")
        return found

    def calls(self, vendor: str, operation: str) -> list[Record]:
        """The present test's calls of an operation, in order."""
        found = self.stack.control("GET", f"calls?vendor={vendor}&operation={operation}")["calls"]
        return [call for call in found if call["at"] >= self.began_at]

    def faults_waiting(self) -> int:
        return len(self.stack.control("GET", "faults"))

    def until(self, what: str, look: Callable[[], T], within_s: float = 20.0) -> T:
        """What `look` gives, once that is something. Raises TooLateError."""
        deadline = time.monotonic() + within_s
        while not (found := look()):
            if time.monotonic() > deadline:
                raise TooLateError(f"not within {within_s:g} s: {what}\n{self.situation()}")
            self.pause.wait(0.02)
        return found

    def until_quiet(self, within_s: float = 45.0) -> None:
        """Waits until nothing is on its way any more: every order has its case, no event, step or case has a due time."""
        numbers = {order.number for order in self.orders}

        def is_quiet() -> bool:
            found = self.rows(
                "SELECT (SELECT count(*) FROM events WHERE due_at IS NOT NULL)"
                " + (SELECT count(*) FROM steps WHERE due_at IS NOT NULL)"
                " + (SELECT count(*) FROM cases WHERE due_at IS NOT NULL) AS due,"
                " ARRAY(SELECT order_number FROM cases) AS numbers,"
                " (SELECT count(*) FROM cases WHERE state = 'running') AS running"
            )[0]
            return found["due"] == 0 and found["running"] == 0 and numbers <= set(found["numbers"])

        self.until("everything quiet", is_quiet, within_s)

    @property
    def orders(self) -> list[Order]:
        return [Order(self, scene) for scene in self.world.scenes]

    def situation(self) -> str:
        """How everything stands, for a failure's text."""
        found = [
            *self.rows("SELECT order_number, case_id, state, why, due_at FROM cases ORDER BY opened_at"),
            *self.rows(
                "SELECT step_key, platform, state, code, reason, attempts, crashes, looks, due_at, lease_until FROM steps"
                " WHERE state NOT IN ('succeeded', 'skipped') ORDER BY case_id, number LIMIT 40"
            ),
            *self.rows(
                "SELECT id, source, topic, state, due_at, tries, note FROM events WHERE due_at IS NOT NULL"
            ),
            *({"reached": line} for line in self.reached()),
        ]
        return "\n".join("  " + ", ".join(f"{k}={v}" for k, v in line.items()) for line in found)

    def agree(self) -> None:
        """The vendors' books and our rows say the same, and nothing is in doubt without a person."""
        books = self.stack.control("GET", "book")
        books["xero"] = [line for line in books["xero"] if line["at"] >= self.began_at]
        with self.database.transaction() as connection:
            compared = compare(connection, books)
        differences = [f"{row.what}: {d}" for row in compared for d in row.differences]
        assert differences == []
        payments = self.rows(
            "SELECT payment_id, reserved, settled, captured FROM payments"
            " WHERE reserved + settled > captured OR reserved < 0"
        )
        assert payments == []
        unexplained = self.rows(
            "SELECT step_key FROM steps WHERE state = 'dead_lettered' AND (code = '' OR reason = '')"
        )
        assert unexplained == []
        stranded = self.rows(
            "SELECT c.case_id, c.state FROM cases c WHERE c.state NOT IN ('complete', 'held', 'attention', 'declined',"
            " 'nothing_to_do') OR (c.state = 'attention' AND NOT EXISTS (SELECT 1 FROM steps s WHERE"
            " s.case_id = c.case_id AND s.state = 'dead_lettered'))"
        )
        assert stranded == []

    def all_well(self, *orders: Order, within_s: float = 45.0) -> None:
        """Quiet, every book in agreement, and each of these orders carried out whole and exactly once."""
        self.until_quiet(within_s)
        self.agree()
        for order in orders:
            order.is_carried_out_once()


@dataclass(frozen=True)
class Order:
    """One order of the present test."""

    live: Live
    scene: Scene

    @property
    def number(self) -> str:
        return self.live.world.number(self.scene)

    @property
    def id(self) -> str:
        return self.live.world.order_id(self.scene)

    @property
    def intents(self) -> list[str]:
        return [reference for _, reference, _ in self.live.world.payments(self.scene)]

    def ask(self, key: str = "") -> tuple[int, Any]:
        return self.live.stack.ask(
            {"order": self.number, "reason": "customer", "requested_by": "customer"},
            key or f"ask-{self.number}",
        )

    def case(self) -> Record:
        """Its case; an error when there is not exactly one."""
        found = self.live.rows("SELECT * FROM cases WHERE order_number = :number", number=self.number)
        assert len(found) == 1, f"{len(found)} cases about {self.number}\n{self.live.situation()}"
        return found[0]

    def steps(self, action: str) -> list[Record]:
        return self.live.rows(
            "SELECT s.* FROM steps s JOIN cases c USING (case_id) WHERE c.order_number = :number AND s.action = :action"
            " ORDER BY s.number",
            number=self.number,
            action=action,
        )

    def step(self, action: str) -> Record:
        found = self.steps(action)
        assert len(found) == 1, f"{len(found)} steps '{action}' for {self.number}"
        return found[0]

    def is_in(self, action: str, *states: str) -> bool:
        return any(step["state"] in states for step in self.steps(action))

    # ------------------------------------------------------------ what the vendors' books say

    def refunds(self) -> list[tuple[int, str, str]]:
        """Minor units, currency and our reference of every refund that the provider made for this order."""
        return [
            (line["amount_minor"], line["currency"], line["reference"].get("refundflow_refund", ""))
            for line in self.live.book("stripe", "refund")
            if line["target"]["payment_intent"] in self.intents
        ]

    def cancels(self) -> int:
        return sum(
            self.id in json.dumps(line["target"]) for line in self.live.book("shopify", "cancel_order")
        )

    def credit_notes(self) -> list[tuple[int, str]]:
        return [
            (line["amount_minor"], line["currency"])
            for line in self.live.book("xero", "create_credit_note")
            if self._case_id in str(line["reference"])
        ]

    def recorded_refunds(self) -> list[tuple[int, str]]:
        return [
            (line["amount_minor"], line["currency"])
            for line in self.live.book("xero", "record_refund")
            if self._case_id in str(line["reference"])
        ]

    def mails(self) -> Counter[str]:
        """How often each of the case's mails went out, by template."""
        templates = {s["step_key"]: s["command"]["template"] for s in self.steps("send_message")}
        return Counter(
            templates[line["reference"]]
            for line in self.live.book("mailgun", "send_message")
            if line["reference"] in templates
        )

    def slack_messages(self) -> int:
        return sum(
            self._case_id in str((line["reference"] or {}).get("op", ""))
            for line in self.live.book("slack", "post_message")
        )

    @property
    def _case_id(self) -> str:
        return str(self.case()["case_id"])

    def is_carried_out_once(self) -> None:
        """One of each effect in the vendors' books, of the whole order's amount, and the case complete."""
        whole = (self.scene.total, self.scene.currency)
        step = self.step("refund")
        assert self.refunds() == [(*whole, step["step_key"])]
        assert self.cancels() == 1
        assert self.credit_notes() == [whole]
        assert self.recorded_refunds() == [whole]
        assert self.mails() == {"cancellation_received": 1, "order_cancelled": 1, "refund_sent": 1}
        assert self.slack_messages() == 1
        assert self.case()["state"] == "complete"
        money = self.live.rows(
            "SELECT reserved, settled, captured FROM payments WHERE reference = :reference",
            reference=self.intents[0],
        )
        assert money == [{"reserved": 0, "settled": whole[0], "captured": whole[0]}]


def plain(name: str = "plain", **more: Any) -> Scene:
    """A paid order of 17.80 EUR, nothing shipped."""
    return Scene(name, "a whole order", **{"lines": (Line(0, 2),), "payments": (Payment(),), **more})


def post(live: Live, path: str, body: Any, key: str, *, timeout_s: float = 15.0) -> tuple[int, Record, float]:
    """One request at the front door: status, headers in lower case, and how long the answer took in seconds."""
    request = urllib.request.Request(
        f"{live.stack.api_url}{path}",
        data=json.dumps(body).encode(),
        method="POST",
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {API_KEY}",
            "Idempotency-Key": key,
        },
    )
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            status, headers = answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            status, headers = error.code, error.headers
    return status, {n.lower(): v for n, v in headers.items()}, time.monotonic() - started
