"""A practice shop: the practice vendors as one real process, real connectors, and a house whose clock the test turns."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sqlalchemy import Connection, Engine, text

from refundflow import settings as settings_file
from refundflow.demo import practice
from refundflow.demo.places import PlacedOrder, place
from refundflow.domain.ids import EventId
from refundflow.domain.inbound import Delivery, Verified
from refundflow.domain.money import Money
from refundflow.domain.plan import Routing
from refundflow.domain.policy import Policy
from refundflow.domain.steps import Pace, Step
from refundflow.flow.context import Context
from refundflow.flow.receive import Received, receive
from refundflow.settings import FlowSettings, Settings
from refundflow.store import cases, inbox, steps
from refundflow.store.cases import Case
from refundflow.store.db import Database, row, rows
from refundflow.wiring import House, build
from tests.support.drive import RUNNER, Clock, drive

Record = dict[str, Any]

LOCATION = "gid://shopify/Location/7001"
API_KEY = practice.API_KEY
OTHER_KEY = "another-api-key-0002"
SECRETS = practice.WEBHOOK_SECRETS
#: Nothing listens on port 1: pacing then goes on alone.
NOBODY = "redis://127.0.0.1:1/0"
ROUTING = Routing(stock_location=LOCATION, customer_channel="mailgun")
BOOKS = replace(
    ROUTING,
    books="xero",
    refund_account_code="092",
    invoice_number="INV-{number}",
    staff_channel="slack",
    staff_to="C0PRACTICE",
)


def practice_settings(database_url: str, vendors_url: str) -> Settings:
    """Settings as the environment would give them, for vendors at an address; without the pace of real ones."""
    environment = {
        "DATABASE_URL": database_url,
        "BROKER_URL": NOBODY,
        "REFUNDFLOW_API_KEYS": f"shop:{API_KEY},other:{OTHER_KEY}",
        **practice.environment(vendors_url),
    }
    return replace(
        settings_file.load(environment),
        routing=ROUTING,
        policy=Policy(),
        pace=Pace(),
        flow=FlowSettings(rate_factor=1000.0, time_factor=0.1),
    )


class Vendors:
    """The running practice vendors, and an address of ours that takes their webhooks in."""

    def __init__(
        self,
        url: str,
        taken: list[tuple[str, Delivery]],
        listener_url: str,
        arrived: threading.Condition,
    ) -> None:
        self.url = url
        self.arrived = arrived
        self.taken = taken
        self.listener_url = listener_url

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls a control. Fails the test with the answer where it is a refusal."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=15)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/_sandbox/{path}", data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            read = json.loads(answer.read() or b"null")
        finally:
            connection.close()
        assert answer.status < 300, read
        return read

    def reset(self) -> None:
        """Nothing has ever happened, and nobody is told of anything."""
        self.control("PUT", "subscriptions", dict.fromkeys(SECRETS))
        self.control("POST", "reset")
        self.taken.clear()

    def deliveries(self, vendor: str) -> list[Delivery]:
        """Every webhook that a vendor has sent so far."""
        return [delivery for source, delivery in self.taken if source == vendor]

    def delivery(self, vendor: str) -> Delivery:
        """The newest webhook of a vendor that sends it when it likes; waited for until it comes."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.deliveries(vendor), timeout=20), (
                f"nothing from {vendor}"
            )
            return self.deliveries(vendor)[-1]


@contextmanager
def serve_vendors() -> Iterator[Vendors]:
    """Starts the practice vendors on a free port, and stops them at the end."""
    taken: list[tuple[str, Delivery]] = []
    arrived = threading.Condition()

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with arrived:
                taken.append((self.path.strip("/"), Delivery(headers, body)))
                arrived.notify_all()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    command = [sys.executable, "-m", "refundflow.sandbox.serve", "--port", "0"]
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Taker) as listener,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
    ):
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            assert process.stdout is not None
            ready = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert ready is not None, "the practice vendors did not start"
            yield Vendors(ready[0], taken, f"http://127.0.0.1:{listener.server_port}", arrived)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
            listener.shutdown()
            thread.join()


@dataclass
class Shop:
    """What a test talks to: orders at the vendors, requests into the inbox, and everybody's books."""

    vendors: Vendors
    house: House
    context: Context
    clock: Clock
    count: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    @property
    def db(self) -> Database:
        return self.context.db

    # ------------------------------------------------------------ the world

    def order(
        self,
        number: str = "#1001",
        *,
        lines: Sequence[tuple[int, int] | tuple[int, int, int]] = ((2, 2125),),
        payments: Sequence[tuple[str, int, bool]] | None = None,
        currency: str = "EUR",
        age_days: float = 1,
        email: str = "ada@customers.example",
        invoice: str = "",
        dispute: Record | None = None,
        **more: Any,
    ) -> int:
        """Places an order. `lines`: (units, unit price in minor units, units shipped); `payments`: (gateway, minor units,
        is captured), one of Stripe over everything where left out; `invoice`: its state in Xero. Returns the total.
        """
        order_id = order_id_of(number)
        total = sum(line[0] * line[1] for line in lines)
        paid = payments if payments is not None else (("stripe", total, True),)
        intents = [
            {
                "id": intent_of(number, index),
                "amount": minor,
                "currency": currency.lower(),
                "status": "succeeded" if is_captured else "requires_capture",
                "metadata": {"order": number},
                **({"dispute": dispute} if dispute and index == 1 else {}),
            }
            for index, (gateway, minor, is_captured) in enumerate(paid, start=1)
            if gateway == "stripe"
        ]
        placed: Record = {
            "id": order_id,
            "name": number,
            "currency": currency,
            "email": email,
            "created_at": (datetime.now(UTC) - timedelta(days=age_days)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lines": [
                {
                    "id": f"{order_id}{index:02d}",
                    "sku": f"SKU-{index}",
                    "title": f"Thing {index}",
                    "quantity": line[0],
                    "unit_minor": line[1],
                    "fulfilled": line[2] if len(line) > 2 else 0,
                    "available": 20,
                    "location": "7001",
                    "item": f"{order_id}{index:02d}",
                }
                for index, line in enumerate(lines, start=1)
            ],
            "transactions": [
                {
                    "id": f"{order_id}{index}",
                    "kind": "SALE" if is_captured else "AUTHORIZATION",
                    "gateway": gateway,
                    "amount": minor,
                    **({"payment_id": intent_of(number, index)} if gateway == "stripe" else {}),
                }
                for index, (gateway, minor, is_captured) in enumerate(paid, start=1)
            ],
            **more,
        }
        world: dict[str, Record] = {
            "shopify": {"locations": [{"id": "7001", "name": "Warehouse"}], "orders": [placed]},
            "stripe": {"payment_intents": intents},
        }
        if invoice:
            world["xero"] = {
                "contacts": [{"Name": "Ada Practice"}],
                "invoices": [
                    {
                        "InvoiceNumber": f"INV-{number.lstrip('#')}",
                        "Contact": {"Name": "Ada Practice"},
                        "CurrencyCode": currency,
                        "LineAmountTypes": "Inclusive",
                        "LineItems": [
                            {
                                "Description": f"Thing {index}",
                                "Quantity": line[0],
                                "UnitAmount": Money(line[1], currency).major,
                                "AccountCode": "200",
                                "TaxType": "OUTPUT",
                            }
                            for index, line in enumerate(lines, start=1)
                        ],
                        "Status": invoice,
                    }
                ],
            }
        self.vendors.control("POST", "seed", world)
        return total

    def place(self, *orders: PlacedOrder) -> None:
        """Places orders at all vendors that hold a part of them."""
        self.vendors.control("POST", "seed", place(orders))

    def fault(self, vendor: str, operation: str, kind: str, **more: Any) -> None:
        """The next calls of that operation go wrong in that way."""
        self.vendors.control(
            "POST", "faults", {"vendor": vendor, "operation": operation, "kind": kind, **more}
        )

    def settle(self, vendor: str, **what: Any) -> Any:
        """Time passes at a vendor; without `what`, its late failures happen."""
        return self.vendors.control("POST", "settle", {"vendor": vendor, **what})

    def settle_square(self) -> None:
        """Square's refunds that wait for their money become final, each once."""
        for line in self.book("square", "refund"):
            if line["id"] not in self.settled:
                self.settled.add(line["id"])
                self.settle("square", refund=line["id"], status="COMPLETED")

    def book(self, vendor: str, effect: str = "") -> list[Record]:
        """What really happened there."""
        found: list[Record] = self.vendors.control(
            "GET", f"book/{vendor}" + (f"?effect={effect}" if effect else "")
        )
        return found

    def money(self, vendor: str, effect: str = "refund") -> list[tuple[int, str]]:
        """Amount and currency of every line with that effect in a vendor's book, in order."""
        return [(line["amount_minor"], line["currency"]) for line in self.book(vendor, effect)]

    def restocked(self) -> dict[str, int]:
        """Units put back, by SKU, as often as they were."""
        sums: dict[str, int] = {}
        for line in (*self.book("shopify", "restock"), *self.book("shopify", "adjust_inventory")):
            sums[line["sku"]] = sums.get(line["sku"], 0) + line["quantity"]
        return sums

    def mails(self) -> list[str]:
        """The subjects of all mails, in order, without the case in brackets."""
        return [line["subject"].rpartition(" [RF-")[0] for line in self.book("mailgun", "send_message")]

    def calls(self, vendor: str, operation: str) -> int:
        """How often an operation was called, answered or not."""
        counted = self.vendors.control("GET", f"calls?vendor={vendor}&operation={operation}")["counts"]
        return sum(each["count"] for each in counted)

    # ------------------------------------------------------------ events

    def ask(self, number: str = "#1001", *, is_verified: bool = True, key: str = "", **body: Any) -> EventId:
        """A request of the shop's own site, in the inbox. Returns its event."""
        self.count += 1
        asked = json.dumps({"order": number, **body}).encode()
        return self.insert("api", key or f"shop:{self.count}", "cancellation.requested", asked, is_verified)

    def receive(self, event_id: EventId) -> Received:
        return receive(self.context, event_id, RUNNER)

    def cancel(self, number: str = "#1001", *, within_s: float = 300.0, **body: Any) -> Case:
        """Asks, and drives on until nothing is due. Returns the order's newest case."""
        received = self.receive(self.ask(number, **body))
        drive(self.context, received.wave, within_s=within_s)
        return self.case(received.case_id)

    def webhook(self, vendor: str, topic: str, target: str) -> EventId:
        """A signed webhook of a vendor about an object, verified and in the inbox."""
        before = len(self.vendors.deliveries(vendor))
        self.vendors.control(
            "POST",
            "webhooks",
            {
                "vendor": vendor,
                "url": f"{self.vendors.listener_url}/{vendor}",
                "secret": SECRETS[vendor],
                "events": [{"topic": topic, "object": target}],
            },
        )
        (delivery,) = self.vendors.deliveries(vendor)[before:]
        return self.take_in(vendor, delivery)

    def take_in(self, vendor: str, delivery: Delivery) -> EventId:
        """Verifies a delivery as the front door does, and stores it."""
        verified = self.context.platforms.inbound[vendor].verify(delivery, datetime.now(UTC))
        assert isinstance(verified, Verified), verified
        return self.insert(vendor, verified.source_event_id, verified.topic, delivery.body, True)

    def news(self, vendor: str, topic: str, target: str, *, within_s: float = 300.0) -> Received:
        """A webhook comes in, is handled, and what follows from it is carried out."""
        received = self.receive(self.webhook(vendor, topic, target))
        drive(self.context, received.wave, within_s=within_s)
        return received

    def insert(self, source: str, event_id: str, topic: str, body: bytes, is_verified: bool) -> EventId:
        return self.db.run(
            lambda connection: inbox.insert(
                connection,
                source=source,
                source_event_id=event_id,
                topic=topic,
                headers={},
                body=body,
                is_verified=is_verified,
                now=self.clock(),
            )
        ).event_id

    # ------------------------------------------------------------ our rows

    def case(self, case_id: str) -> Case:
        found = self.db.run(lambda connection: cases.load(connection, case_id))
        assert found is not None
        return found

    def all_cases(self) -> list[Record]:
        return self.rows("SELECT case_id, order_number, state, why FROM cases ORDER BY opened_at, case_id")

    def steps(self, case_id: str) -> dict[str, Step]:
        """The case's steps by kind and number: `refund.1`."""
        found = self.db.run(lambda connection: steps.of_case(connection, case_id))
        return {s.step_key.split(".", 1)[1]: s for s in found}

    def step(self, case_id: str, name: str) -> Step:
        return self.steps(case_id)[name]

    def states(self, case_id: str, kind: str = "") -> list[str]:
        """The steps' states in the order of the plan, of one kind where it is named."""
        return [s.state.value for s in self.steps(case_id).values() if kind in ("", s.kind.value)]

    def payment(self, payment_id: str) -> Record:
        found = self.db.run(
            lambda connection: row(connection, "SELECT * FROM payments WHERE payment_id = :id", id=payment_id)
        )
        assert found is not None
        return found

    def sums(self, payment_id: str) -> tuple[int, int, int]:
        """(captured, reserved, settled) of a payment."""
        found = self.payment(payment_id)
        return found["captured"], found["reserved"], found["settled"]

    def journal(self) -> dict[str, int]:
        """Every account's balance in minor units."""
        return {
            r["account"]: r["minor"]
            for r in self.rows(
                "SELECT account, sum(amount_minor)::bigint AS minor FROM journal_lines GROUP BY account"
            )
        }

    def rows(self, sql: str, **values: Any) -> list[Record]:
        return self.db.run(lambda connection: rows(connection, sql, **values))


def received(number: str = "#1001") -> str:
    """The subject of the mail that acknowledges a request."""
    return f"We received your request to cancel order {number}"


def cancelled(number: str = "#1001") -> str:
    return f"Your order {number} is cancelled"


def refunded(number: str = "#1001") -> str:
    return f"Your refund for order {number} was sent"


def failed_late(number: str = "#1001") -> str:
    return f"Your refund for order {number} did not go through"


def declined(number: str = "#1001") -> str:
    return f"We could not cancel order {number}"


def order_id_of(number: str) -> str:
    return f"90{number.lstrip('#')}"


def line_of(number: str, index: int) -> str:
    return f"gid://shopify/LineItem/{order_id_of(number)}{index:02d}"


def intent_of(number: str, index: int = 1) -> str:
    return f"pi_practice{order_id_of(number)}{index}"


def payment_of(number: str, index: int = 1) -> str:
    return f"stripe:{intent_of(number, index)}"


@dataclass
class SharedClock(Clock):
    """A clock that the practice vendors follow: a week that passes here passes there too."""

    vendors: Vendors | None = None
    ahead_s: float = 0.0

    def jump(self, seconds: float) -> None:
        super().jump(seconds)
        self.ahead_s += seconds
        assert self.vendors is not None
        self.vendors.control("PUT", "clock", {"ahead_s": max(0.0, self.ahead_s)})


def share_time(shop: Shop) -> None:
    """From now on the vendors' time passes with the shop's."""
    clock = SharedClock(shop.clock.at, shop.vendors)
    shop.clock = clock
    shop.context = replace(shop.context, now=clock)


def open_shop(vendors: Vendors, db: Database, **changes: Any) -> Shop:
    """A house on this database and these vendors. `changes`: fields of the context that are other than usual."""
    house = build(practice_settings(db.url, vendors.url))
    clock = Clock.from_now()
    # Polling has tests of its own; elsewhere nothing happens that a test did not start.
    platforms = replace(house.platforms, pollers={})
    own = {"db": db, "now": clock, "jitter": lambda: 0.0, "platforms": platforms}
    context = replace(house.context, **{**own, **changes})
    house.db.close()
    return Shop(vendors, replace(house, context=context), context, clock)


def empty(db: Database) -> None:
    """Forgets every row, the append-only ones too: what only a superuser can, with the triggers off."""

    def work(connection: Connection) -> None:
        names = [
            r["tablename"]
            for r in rows(
                connection,
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
            )
        ]
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))

    db.run(work)


@contextmanager
def fresh_database(server: Engine) -> Iterator[Database]:
    """One more copy of the migrated database, for tests that share one and empty it."""
    name = f"refundflow_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(
            text(f"CREATE DATABASE {name} TEMPLATE {server.get_execution_options()['template']}")
        )
    database = Database(server.url.set(database=name).render_as_string(hide_password=False))
    yield database
    database.close()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
