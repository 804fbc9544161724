"""Commands that ask vendors: connectors check, plan, and the words of people that are refused before anybody is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from refundflow.connectors.base import Health
from refundflow.domain.facts import Facts, OrderFacts, OrderRef, PaymentFacts
from refundflow.domain.policy import Policy
from refundflow.flow.context import Platforms
from refundflow.store import audit, runs, steps
from refundflow.transport.base import NotSentError
from tests.integration.cli.desk import CANCEL, CASE, REFUND, T0, Desk, at, facts

pytestmark = pytest.mark.integration


@dataclass
class Vendor:
    """A platform that tells the facts of the one order, or does not answer."""

    facts: Facts
    is_away: bool = False

    def check(self) -> Health:
        if self.is_away:
            raise NotSentError("connection refused")
        return Health(True, "account acct_1")

    def read_order(self, ref: OrderRef) -> OrderFacts:
        return self.facts.order

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts:
        return self.facts.payments[0]


def _platforms(*, is_away: bool = False) -> Platforms:
    shop: Any = Vendor(facts())
    payer: Any = Vendor(facts(), is_away)
    return Platforms(
        orders={"shopify": shop}, refunders={"stripe": payer}, all={"shopify": shop, "stripe": payer}
    )


def test_connectors_check_mends_what_answers_and_fails_for_what_does_not(desk: Desk) -> None:
    desk.platforms = _platforms(is_away=True)
    desk.db.run(lambda c: runs.trip(c, "shopify", "401", now=T0, pause_s=600))
    desk.db.run(lambda c: runs.trip(c, "stripe", "401", now=T0, pause_s=600))

    result = desk.type("connectors", "check", "--json")

    assert result.exit_code == 1
    told = [
        (p["platform"], p["is_ok"], p["detail"], p["was_paused"])
        for p in json.loads(result.stdout)["platforms"]
    ]
    assert told == [
        ("shopify", True, "account acct_1", True),
        ("stripe", False, "no answer: connection refused", False),
    ]
    paused = {h["platform"]: h["paused_until"] for h in desk.db.run(runs.health)}
    assert paused == {"shopify": None, "stripe": at(600)}


def test_connectors_check_without_platforms_is_a_usage_mistake(desk: Desk) -> None:
    assert desk.type("connectors", "check").exit_code == 2


def test_plan_shows_what_would_happen_and_writes_nothing(desk: Desk) -> None:
    desk.open_case(policy=Policy(auto_approve_limit=(("EUR", 1000),)))
    desk.platforms = _platforms()

    told = json.loads(desk.type("plan", CASE, "--json").stdout)
    lines = desk.lines("plan", CASE)

    assert told["decision"]["verdict"] == "approve"
    assert [(s["step_key"], s["platform"], s["amount"]) for s in told["steps"]] == [
        (CANCEL, "shopify", None),
        (REFUND, "stripe", {"minor": 4250, "currency": "EUR"}),
    ]
    assert lines[:3] == [
        f"{CASE}  order #1001 at shopify, read 2026-11-23T02:00:00Z",
        "  order total 42.50 EUR; 1 line, 1 unit to cancel",
        "  payment pi_1 at stripe: captured, captured 42.50 EUR, refunded 0.00 EUR, dispute none",
    ]
    assert desk.db.run(lambda c: steps.of_case(c, CASE)) == []
    assert [e["event"] for e in desk.db.run(lambda c: audit.of_case(c, CASE))] == [
        "case.opened",
        "case.decided",
    ]


def test_whoever_asked_for_a_cancellation_cannot_approve_it(desk: Desk) -> None:
    desk.open_case(policy=Policy(auto_approve_limit=(("EUR", 1000),)))

    result = desk.type("case", "approve", CASE, "--reason", "mine", "--operator", "portal")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: you asked for this cancellation yourself: somebody else must decide it\n"
    with desk.db.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM approvals")).scalar_one() == 0


def test_a_running_case_cannot_be_declined(desk: Desk) -> None:
    desk.open_case()

    result = desk.type("case", "decline", CASE, "--reason", "late", "--operator", "ana")

    assert (result.exit_code, result.stderr) == (
        1,
        "error: the case is running, nothing waits for approval\n",
    )
