"""Carry out: facts and a request become a decision, a plan and reserved money, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from refundflow.domain.facts import Facts
from refundflow.domain.plan import (
    acknowledge,
    open_records,
    plan_steps,
    tell_customer,
    tell_staff,
    underway_of,
)
from refundflow.domain.policy import Decision, Verdict, decide_case, scope_lines
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Step
from refundflow.flow.context import Context, Wave
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, payments, steps
from refundflow.store.cases import Case


class StaleFactsError(Exception):
    """The case moved between the reading of the facts and the decision: read them again. Nothing was written."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_STATE_OF = {
    Verdict.APPROVE: CaseState.RUNNING,
    Verdict.HOLD: CaseState.HELD,
    Verdict.DECLINE: CaseState.DECLINED,
    Verdict.NOTHING_TO_DO: CaseState.NOTHING_TO_DO,
}


def carry_out(
    context: Context,
    connection: Connection,
    case: Case,
    facts: Facts,
    *,
    now: datetime,
    actor: str,
    approved_by: str = "",
) -> tuple[Decision, Wave]:
    """Decides on fresh facts and plans what is still to do. The case is locked by the caller.

    Money is reserved against its payment here, before any call is made; a reservation that does not fit makes a dead
    letter of its step, never a call. Raises StaleFactsError when the case moved since the facts were read.
    """
    existing = steps.of_case(connection, case.case_id)
    wanted = replace(case.wanted, underway=underway_of(existing))
    if facts.quoted and (scope_lines(facts.order, wanted) or ()) != facts.quoted:
        raise StaleFactsError("the case moved while its facts were read")
    for payment in facts.payments:
        if payment.platform:
            payments.note_facts(connection, facts.order, payment, now=now)
    facts_id = cases.keep_facts(connection, case.case_id, facts)
    decision = decide_case(facts, wanted, context.policy, approved_by=approved_by)
    cases.keep_decision(
        connection,
        case.case_id,
        facts_id=facts_id,
        wanted=wanted,
        policy=context.policy,
        routing=context.routing_of(facts.order.platform),
        approved_by=approved_by,
        decision=decision,
        now=now,
    )
    audit.write(
        connection,
        case.case_id,
        "case.decided",
        now=now,
        actor=actor,
        verdict=decision.verdict.value,
        reason=decision.reason,
        amount=str(decision.amount) if decision.amount else None,
    )
    planned = _steps_for(context, case, facts, decision, existing)
    dead = insert_plan(connection, case, planned, existing, now=now, actor=actor)
    state = _STATE_OF[decision.verdict]
    if state in (CaseState.DECLINED, CaseState.NOTHING_TO_DO) and _has_effects(existing):
        # Other sources' work is under way or done: the new word changes nothing about it.
        state = CaseState.RUNNING
    if case.state is not state:
        cases.move(connection, case, state, why=decision.reason, now=now)
    moved = cases.load(connection, case.case_id)
    assert moved is not None
    wave = settle_locked(context, connection, moved, steps.of_case(connection, case.case_id), now=now)
    if dead:
        audit.write(connection, case.case_id, "case.not_refundable", now=now, actor=actor, steps=dead)
    return decision, wave


def insert_plan(
    connection: Connection,
    case: Case,
    planned: Sequence[Step],
    existing: Sequence[Step],
    *,
    now: datetime,
    actor: str,
) -> list[str]:
    """Writes steps down and reserves their money; returns the keys of those whose money could not be reserved."""
    steps.insert(connection, planned, first_number=len(existing), now=now)
    dead: list[str] = []
    for step in planned:
        if step.action != "refund" or step.payment_id is None or step.amount is None:
            continue
        if payments.reserve(connection, step.payment_id, step.amount.minor):
            continue
        steps.set_reserved(connection, step.step_key, is_reserved=False)
        steps.move(
            connection,
            step,
            StepState.DEAD_LETTERED,
            code="not_refundable",
            reason=f"payment {step.payment_id} cannot give back {step.amount} more: reserved or refunded otherwise, or disputed",
            now=now,
        )
        dead.append(step.step_key)
    if planned:
        audit.write(
            connection,
            case.case_id,
            "case.planned",
            now=now,
            actor=actor,
            steps=[[s.step_key, s.action, s.platform, str(s.amount) if s.amount else None] for s in planned],
        )
    return dead


def _steps_for(
    context: Context, case: Case, facts: Facts, decision: Decision, existing: Sequence[Step]
) -> list[Step]:
    if decision.verdict is Verdict.NOTHING_TO_DO:
        return []
    routing = context.routing_of(facts.order.platform)
    planned: list[Step] = []
    # Whoever disputes a payment wrote to the bank, not to us; and a request that nobody vouches for may be a stranger's.
    if not case.wanted.is_dispute and case.wanted.is_verified:
        planned += acknowledge(case.case_id, facts, routing, existing)
    if decision.verdict is not Verdict.HOLD:  # a case that is held is reported below
        planned += open_records(case.case_id, routing, [*existing, *planned])
    match decision.verdict:
        case Verdict.APPROVE:
            planned += plan_steps(
                case.case_id, facts, decision, routing, [*existing, *planned], reason=case.wanted.reason
            )
        case Verdict.DECLINE if not _has_effects(existing):
            planned += tell_customer(
                case.case_id, facts, routing, "cancellation_declined", [*existing, *planned]
            )
        case Verdict.HOLD:
            planned += tell_staff(case.case_id, routing, [*existing, *planned], facts)
        case _:
            pass
    return planned


def _has_effects(existing: Sequence[Step]) -> bool:
    return any(s.kind.value not in ("notify", "human_task") for s in existing)
