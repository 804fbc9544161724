"""What every move needs, put together once in `wiring.py`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from refundflow.connectors.base import (
    Allocator,
    Books,
    Connector,
    Inbound,
    LineCanceller,
    Messenger,
    OrderMirror,
    OrderPlatform,
    PaymentReader,
    Poller,
    RecordKeeper,
    Refunder,
    RefundRecorder,
    SalesChannel,
    StockOwner,
    SupportDesk,
    Voider,
)
from refundflow.domain.ids import CaseId, StepKey, mint_case_id
from refundflow.domain.mail import MailRules
from refundflow.domain.plan import Routing
from refundflow.domain.policy import Policy
from refundflow.domain.steps import Pace, StepKind
from refundflow.flow.compose import Composer
from refundflow.store.db import Database


@dataclass(frozen=True, slots=True)
class Platforms:
    """Connectors by capability and slug. A platform that is not configured is simply absent. `channels`: where orders live that
    only a person can cancel; `readers`: payers that tell how a payment stands and return its money only when a person tells them to.
    """

    orders: Mapping[str, OrderPlatform] = field(default_factory=dict)
    channels: Mapping[str, SalesChannel] = field(default_factory=dict)
    readers: Mapping[str, PaymentReader] = field(default_factory=dict)
    mirrors: Mapping[str, OrderMirror] = field(default_factory=dict)
    lines: Mapping[str, LineCanceller] = field(default_factory=dict)
    recorders: Mapping[str, RefundRecorder] = field(default_factory=dict)
    stock: Mapping[str, StockOwner] = field(default_factory=dict)
    refunders: Mapping[str, Refunder] = field(default_factory=dict)
    voiders: Mapping[str, Voider] = field(default_factory=dict)
    books: Mapping[str, Books] = field(default_factory=dict)
    allocators: Mapping[str, Allocator] = field(default_factory=dict)
    messengers: Mapping[str, Messenger] = field(default_factory=dict)
    desks: Mapping[str, SupportDesk] = field(default_factory=dict)
    keepers: Mapping[str, RecordKeeper] = field(default_factory=dict)
    inbound: Mapping[str, Inbound] = field(default_factory=dict)
    pollers: Mapping[str, Poller] = field(default_factory=dict)
    all: Mapping[str, Connector] = field(default_factory=dict)

    def order_home(self, platform: str) -> OrderPlatform | SalesChannel | None:
        """Where orders of that platform are read."""
        return self.orders.get(platform) or self.channels.get(platform)

    def payment_reader(self, payer: str) -> PaymentReader | None:
        """Who tells how a payment of that payer stands."""
        return self.refunders.get(payer) or self.readers.get(payer)


def no_portal(platform: str, number: str, now: datetime) -> str:  # noqa: ARG001 (the shape of every portal)
    """Where a shop has no portal there is no link."""
    return ""


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Shop:
    """How the shop calls itself in messages."""

    name: str = "the shop"
    support_email: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The house as the moves see it. `now`: aware UTC; `relaunch_s`: after so long the sweep launches again what was
    launched and did not move (its message was lost); `poll_s`: how often platforms that are polled are looked at; `second_looks_h`: so many
    hours after a refund was done its vendor is asked whether it still is; `routes`: the routing of orders of one platform, where it differs from the shop's general one; `members`: operators by `tool:member id`;
    `portal_link`: the customer's page for an order (platform, number, now), empty where there is none.
    """

    db: Database
    platforms: Platforms
    policy: Policy
    routing: Routing
    pace: Pace
    composer: Composer
    shop: Shop = Shop()
    now: Callable[[], datetime] = utc_now
    jitter: Callable[[], float] = random.random
    relaunch_s: float = 30.0
    auth_pause_s: float = 120.0
    poll_s: float = 300.0
    second_looks_h: tuple[float, ...] = (24.0, 168.0)
    routes: Mapping[str, Routing] = field(default_factory=dict)
    mail_rules: MailRules = field(default_factory=MailRules)
    members: Mapping[str, str] = field(default_factory=dict)
    portal_link: Callable[[str, str, datetime], str] = no_portal

    def routing_of(self, order_platform: str) -> Routing:
        """Who does what for orders of that platform."""
        return self.routes.get(order_platform, self.routing)

    def new_case_id(self, now: datetime) -> CaseId:
        return mint_case_id(now, random.getrandbits(30))


@dataclass(frozen=True, slots=True)
class Launch:
    """A step that is ready to run."""

    step_key: StepKey
    kind: StepKind


@dataclass(frozen=True, slots=True)
class Wave:
    """Steps of one case to launch together; when all have returned, the case is settled again."""

    case_id: CaseId
    steps: tuple[Launch, ...] = ()


@dataclass(frozen=True, slots=True)
class Runner:
    """Who runs a move: for the attempts and the audit. `task_id`: Celery's id, empty from the CLI."""

    task_id: str
    worker: str


class RefusedError(Exception):
    """A move that a person asked for is not possible. The message says why, and what to do instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotNowError(RefusedError):
    """The move is possible, but a platform does not answer: come again later."""
