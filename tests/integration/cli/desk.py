"""Cases in every state, written through the store as the house writes them, at times that stand still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from typer.testing import CliRunner, Result

from refundflow.cli.main import app
from refundflow.domain.facts import Facts, OrderFacts, OrderLine, OrderPayment, PaymentFacts, PaymentState
from refundflow.domain.ids import CaseId
from refundflow.domain.money import Money
from refundflow.domain.plan import Routing, human_task, plan_steps
from refundflow.domain.policy import Policy, Verdict, Wanted, decide_case
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Move, Pace, Step
from refundflow.flow.compose import Composer
from refundflow.flow.context import Context, Platforms
from refundflow.settings import Secret, Settings
from refundflow.store import audit, cases, inbox, ledger, payments, steps
from refundflow.store.db import Database
from refundflow.store.steps import Claim, Ending

CASE = CaseId("RF-01K0000A7ABCDEF")
CANCEL = f"{CASE}.cancel_order.1"
REFUND = f"{CASE}.refund.1"
TASK = f"{CASE}.human_task.1"
T0 = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
ROUTING = Routing(payers=(("shopify_payments", "stripe"),), stock_owner="")
#: Nothing listens on port 1.
NOBODY = "redis://127.0.0.1:1/0"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def facts(email: str = "") -> Facts:
    paid = Money(4250, "EUR")
    order = OrderFacts(
        platform="shopify",
        order_id="5001",
        number="#1001",
        created_at=T0 - timedelta(hours=2),
        currency="EUR",
        total=paid,
        email=email,
        lines=(OrderLine("L1", "SKU-1", "Tea", 1, 1, 1, paid),),
        payments=(OrderPayment("T1", "shopify_payments", "pi_1", True, paid),),
    )
    payment = PaymentFacts(
        platform="stripe",
        reference="pi_1",
        state=PaymentState.CAPTURED,
        authorised=Money(0, "EUR"),
        captured=paid,
        gateway="shopify_payments",
    )
    return Facts(read_at=T0, order=order, payments=(payment,))


@dataclass
class House:
    """What commands are handed instead of the process's own house."""

    settings: Settings
    context: Context

    @property
    def db(self) -> Database:
        return self.context.db

    @property
    def platforms(self) -> Platforms:
        return self.context.platforms


@dataclass
class Desk:
    """A database with a case in it, and the command line on top."""

    db: Database
    platforms: Platforms = field(default_factory=Platforms)
    now: datetime = T0

    @property
    def house(self) -> House:
        settings = Settings(Secret(self.db.url), Secret(NOBODY), Secret(NOBODY), Secret(NOBODY))
        context = Context(
            db=self.db,
            platforms=self.platforms,
            policy=Policy(),
            routing=ROUTING,
            pace=Pace(),
            composer=Composer(None),
            now=lambda: self.now,
            jitter=lambda: 0.0,
        )
        return House(settings, context)

    def type(self, *args: str) -> Result:
        return CliRunner().invoke(app, list(args), obj=self.house)

    def lines(self, *args: str) -> list[str]:
        """The answer's lines without trailing blanks; the command must have ended well."""
        result = self.type(*args)
        assert result.exit_code == 0, result.output
        return [line.rstrip() for line in result.stdout.split("\n")]

    def open_case(self, *, policy: Policy | None = None, is_verified: bool = True) -> list[Step]:
        """A case that came by a webhook, decided and, where approved, planned."""
        policy = policy or Policy()

        def work(connection: Any) -> list[Step]:
            stored = inbox.insert(
                connection,
                source="shopify",
                source_event_id="evt-1",
                topic="orders/cancelled",
                headers={"x-shopify-topic": "orders/cancelled"},
                body=b'{"id": 5001}',
                is_verified=is_verified,
                now=T0,
            )
            wanted = Wanted(is_verified=is_verified)
            case, _ = cases.open_or_join(
                connection,
                case_id=CASE,
                platform="shopify",
                order_id="5001",
                order_number="#1001",
                wanted=wanted,
                requested_by="portal",
                now=T0,
            )
            cases.add_source(connection, CASE, stored.event_id, source="shopify", how="opened", now=T0)
            audit.write(connection, CASE, "case.opened", now=T0, actor="shopify", event_id=1, order="#1001")
            audit.write(connection, audit.SYSTEM, "case.opened", now=T0, actor="shopify", opened=CASE)
            inbox.finish(
                connection,
                stored.event_id,
                state="handled",
                case_id=CASE,
                note="opened",
                task_id="task-intake",
                now=T0,
            )
            known = facts()
            for payment in known.payments:
                payments.note_facts(connection, known.order, payment, now=T0)
            facts_id = cases.keep_facts(connection, CASE, known)
            decision = decide_case(known, wanted, policy)
            cases.keep_decision(
                connection,
                CASE,
                facts_id=facts_id,
                wanted=wanted,
                policy=policy,
                routing=ROUTING,
                approved_by="",
                decision=decision,
                now=T0,
            )
            audit.write(
                connection, CASE, "case.decided", now=T0, actor="worker", verdict=decision.verdict.value
            )
            planned = plan_steps(CASE, known, decision, ROUTING)
            steps.insert(connection, planned, first_number=0, now=T0)
            for step in planned:
                if step.action == "refund" and step.payment_id and step.amount:
                    assert payments.reserve(connection, step.payment_id, step.amount.minor)
            if decision.verdict is Verdict.HOLD:
                cases.move(connection, case, CaseState.HELD, why=decision.reason, now=T0)
            else:
                cases.move(connection, case, CaseState.RUNNING, why="steps are on their way", now=T0)
            return planned

        return self.db.run(work)

    def run_step(
        self,
        key: str,
        ending: Ending,
        *,
        seconds: float,
        move: Move = Move.SEND,
        task_id: str = "task-1",
        exchanges: Sequence[Any] = (),
    ) -> None:
        """One run of a step, as a worker would write it."""

        def work(connection: Any) -> None:
            step = steps.load(connection, key)
            assert step is not None
            by = Claim(token=f"{key}:{seconds}", task_id=task_id, worker="celery@a/7")
            claimed = steps.claim(connection, step, move, by, now=at(seconds), lease_s=90)
            assert claimed is not None
            assert steps.record(
                connection, claimed, ending, move, by, now=at(seconds + 1), exchanges=exchanges
            )
            audit.write(
                connection,
                CASE,
                f"step.{ending.state.value}",
                now=at(seconds + 1),
                actor="celery@a/7",
                step_key=key,
                outcome=ending.outcome,
                code=ending.code,
                reference=ending.reference,
            )

        self.db.run(work)

    def claim(self, key: str, *, seconds: float, lease_s: float = 90) -> None:
        """A worker took the step, and nothing more is known."""

        def work(connection: Any) -> None:
            step = steps.load(connection, key)
            assert step is not None
            by = Claim(token=f"{key}:{seconds}", task_id="task-2", worker="celery@a/7")
            assert steps.claim(connection, step, Move.SEND, by, now=at(seconds), lease_s=lease_s)

        self.db.run(work)

    def settle_money(self) -> None:
        """What the outcome's transaction does to payment and journal."""

        def work(connection: Any) -> None:
            steps.set_reserved(connection, REFUND, is_reserved=False)
            payments.settle(connection, "stripe:pi_1", 4250)
            ledger.book_refund(
                connection,
                case_id=CASE,
                step_key=REFUND,
                platform="stripe",
                amount=Money(4250, "EUR"),
                now=at(11),
                memo="refund re_1",
            )

        self.db.run(work)

    def move_case(self, state: CaseState, why: str) -> None:
        def work(connection: Any) -> None:
            case = cases.load(connection, CASE, lock=True)
            assert case is not None
            cases.move(connection, case, state, why=why, now=at(12))
            audit.write(connection, CASE, f"case.{state.value}", now=at(12), actor="settle")

        self.db.run(work)

    def add_task(self, text: str) -> None:
        """A human task, open."""

        def work(connection: Any) -> None:
            existing = steps.of_case(connection, CASE)
            task = human_task(CASE, existing, "stripe", text, Money(4250, "EUR"))
            steps.insert(connection, [task], first_number=len(existing), now=T0)
            steps.move(connection, task, StepState.DEAD_LETTERED, code="human_task", reason=text, now=at(12))

        self.db.run(work)

    def step(self, key: str) -> Step:
        found = self.db.run(lambda c: steps.load(c, key))
        assert found is not None
        return found


CANCELLED = Ending(StepState.SUCCEEDED, "done", reference="gid://5001")
REFUNDED = Ending(StepState.SUCCEEDED, "done", reference="re_1")
UNSURE = Ending(
    StepState.UNKNOWN,
    "unknown",
    reason="no answer within 15 s",
    may_have_happened=True,
    due_at=at(600),
    not_before=at(590),
)
STILL_UNKNOWN = Ending(
    StepState.DEAD_LETTERED,
    "permanent",
    code="still_unknown",
    reason="looked 14 times; last: no answer",
    may_have_happened=True,
)
REFUSED = Ending(StepState.DEAD_LETTERED, "permanent", code="charge_expired", reason="the charge is too old")
