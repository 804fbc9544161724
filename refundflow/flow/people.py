"""What people do: approve, decline, plan again, resolve a human task. Each with who and why, and all of it audited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from refundflow.domain.facts import Facts, OrderFacts, OrderRef
from refundflow.domain.plan import is_report, plan_steps, tell_customer, tell_staff, underway_of
from refundflow.domain.policy import Decision, decide_case
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import ONLY_A_PERSON_KNOWS, Step, StepKind
from refundflow.flow.carry_out import StaleFactsError, carry_out, insert_plan
from refundflow.flow.context import Context, Launch, NotNowError, RefusedError, Wave
from refundflow.flow.gather import ReadLater, Unreadable, gather, read_order
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, ledger, payments, steps
from refundflow.store.cases import Case

T = TypeVar("T")


def fresh_facts(context: Context, case: Case) -> Facts:
    """The case's facts as the platforms tell them now. Raises RefusedError where they cannot be read."""
    order = read_order(
        context,
        OrderRef(case.platform, "" if case.order_id.startswith("?") else case.order_id, case.order_number),
    )
    if isinstance(order, ReadLater):
        raise NotNowError(f"{order.platform} does not give the order: {order.reason}")
    if not isinstance(order, OrderFacts):
        raise RefusedError(f"{order.platform} does not give the order: {order.reason}")
    existing = context.db.run(lambda connection: steps.of_case(connection, case.case_id))
    facts = gather(context, order, replace(case.wanted, underway=underway_of(existing)))
    if isinstance(facts, ReadLater):
        raise NotNowError(f"{facts.platform} does not give the facts: {facts.reason}")
    if isinstance(facts, Unreadable):
        raise RefusedError(f"{facts.platform} does not give the facts: {facts.reason}")
    return facts


def load_case(context: Context, case_id: str) -> Case:
    """The case. Raises RefusedError where there is none."""
    case = context.db.run(lambda connection: cases.load(connection, case_id))
    if case is None:
        raise RefusedError(f"no case {case_id}; `refundflow case list` shows what there is")
    return case


def preview(context: Context, case: Case, *, approved_by: str = "") -> tuple[Facts, Decision, list[Step]]:
    """What would be decided and planned now, from fresh facts. Nothing is sent and nothing is written."""
    facts = fresh_facts(context, case)
    existing = context.db.run(lambda connection: steps.of_case(connection, case.case_id))
    wanted = replace(case.wanted, underway=underway_of(existing))
    decision = decide_case(facts, wanted, context.policy, approved_by=approved_by)
    routing = context.routing_of(case.platform)
    planned = plan_steps(case.case_id, facts, decision, routing, existing, reason=case.wanted.reason)
    return facts, decision, planned


def approve(context: Context, case_id: str, *, operator: str, reason: str) -> tuple[Decision, Wave]:
    """Lets a held case go on, on fresh facts. Requester is not approver. Raises RefusedError with what to do instead."""
    case = load_case(context, case_id)
    _may_decide(case, operator)
    facts = fresh_facts(context, case)

    def work(connection: Connection) -> tuple[Decision, Wave]:
        now = context.now()
        locked = cases.load(connection, case_id, lock=True)
        assert locked is not None
        _may_decide(locked, operator)
        if not cases.approve(
            connection, locked, operator=operator, verdict="approve", reason=reason, now=now
        ):
            raise RefusedError("somebody decided this a moment ago; look again with `refundflow case show`")
        audit.write(connection, case_id, "case.approved", now=now, actor=operator, reason=reason)
        return carry_out(context, connection, locked, facts, now=now, actor=operator, approved_by=operator)

    return _unless_stale(context, work)


def decline(context: Context, case_id: str, *, operator: str, reason: str) -> Wave:
    """Ends a held case without effects; the customer is told. Raises RefusedError."""
    case = load_case(context, case_id)
    _may_decide(case, operator)

    def work(connection: Connection) -> Wave:
        now = context.now()
        locked = cases.load(connection, case_id, lock=True)
        assert locked is not None
        _may_decide(locked, operator)
        if not cases.approve(
            connection, locked, operator=operator, verdict="decline", reason=reason, now=now
        ):
            raise RefusedError("somebody decided this a moment ago; look again with `refundflow case show`")
        audit.write(connection, case_id, "case.declined", now=now, actor=operator, reason=reason)
        existing = steps.of_case(connection, case_id)
        if locked.decision_id is not None and not locked.wanted.is_dispute:
            kept = cases.load_decision(connection, locked.decision_id)
            planned = tell_customer(
                locked.case_id,
                kept.facts,
                context.routing_of(locked.platform),
                "cancellation_declined",
                existing,
            )
            insert_plan(connection, locked, planned, existing, now=now, actor=operator)
        cases.move(connection, locked, CaseState.DECLINED, why=reason, now=now)
        existing = steps.of_case(connection, case_id)
        if any(is_report(s) for s in existing):  # whoever was asked to decide is shown that it is decided
            told = tell_staff(locked.case_id, context.routing_of(locked.platform), existing)
            insert_plan(connection, locked, told, existing, now=now, actor=operator)
        return settle_locked(
            context,
            connection,
            replace(locked, state=CaseState.DECLINED),
            steps.of_case(connection, case_id),
            now=now,
        )

    return context.db.run(work)


def replan(context: Context, case_id: str, *, operator: str, reason: str) -> tuple[Decision, Wave]:
    """Plans a case again from fresh facts: what exists is not planned twice. For a refund that failed late, an order
    that was not found at first, an authorisation that was captured meanwhile. Raises RefusedError.
    """
    case = load_case(context, case_id)
    if case.state is CaseState.HELD:
        raise RefusedError(f"the case waits for approval: `refundflow case approve {case_id}` plans it")
    if case.state in (CaseState.DECLINED, CaseState.NOTHING_TO_DO):
        raise RefusedError(f"the case is closed ({case.state.value}); a new request opens another one")
    if not case.is_open and (other := context.db.run(lambda connection: cases.other_open(connection, case))):
        raise RefusedError(f"the order has another open case: `refundflow case replan {other}` plans for it")
    facts = fresh_facts(context, case)

    def work(connection: Connection) -> tuple[Decision, Wave]:
        now = context.now()
        locked = cases.load(connection, case_id, lock=True)
        assert locked is not None
        if locked.order_id.startswith("?"):
            cases.set_order(
                connection, case_id, order_id=facts.order.order_id, order_number=facts.order.number
            )
            locked = replace(locked, order_id=facts.order.order_id, order_number=facts.order.number)
        audit.write(connection, case_id, "case.replanned", now=now, actor=operator, reason=reason)
        return carry_out(context, connection, locked, facts, now=now, actor=operator)

    return _unless_stale(context, work)


def resolve(
    context: Context, step_key: str, *, operator: str, proof: str, happened: bool | None = None
) -> Wave:
    """Ends a task that a person carried out, a dead step that a person did by hand instead, or a step of which only a person
    can find out whether it happened.

    `proof`: what a later reader can check; `happened`: for the last kind, whether its effect is there (then it is recorded and
    booked as done) or certainly not (then it is sent again, as a new intention). A refund that its payer refused is none of
    these: no money of that payment moved, so it is replayed or discarded. Raises RefusedError.
    """

    def work(connection: Connection) -> Wave:
        now = context.now()
        step = steps.load(connection, step_key)
        if step is None:
            raise RefusedError(f"no step {step_key}")
        case = cases.load(connection, step.case_id, lock=True)
        assert case is not None
        step = steps.load(connection, step_key, lock=True)
        assert step is not None
        if step.state is not StepState.DEAD_LETTERED:
            raise RefusedError(
                f"{step_key} is no open human task (it is {step.kind.value}, {step.state.value})"
            )
        wave = Wave(case.case_id)
        if step.kind is StepKind.HUMAN_TASK:
            if happened is False:
                raise RefusedError(f"{step_key} is a task: discard it where it is not to be done")
            _set_done(connection, step, operator, proof, now)
        elif step.code not in ONLY_A_PERSON_KNOWS and (step.action == "refund" or happened is False):
            raise RefusedError(
                f"{step_key} is no open human task, and its vendor can be asked: `refundflow replay {step_key}`"
            )
        elif step.code not in ONLY_A_PERSON_KNOWS:
            _set_done(connection, step, operator, proof, now)
        elif happened is None:
            raise RefusedError(
                f"{step_key} may have happened: look at {step.platform}, then say --happened or --never with the proof"
            )
        elif happened:
            _set_done(connection, step, operator, proof, now)
            _book_what_was_found(connection, step, proof, now)
        else:
            _send_anew(context, connection, step, operator, proof, now)
            wave = Wave(case.case_id, (Launch(step.step_key, step.kind),))
        audit.write(
            connection,
            case.case_id,
            "step.resolved",
            now=now,
            actor=operator,
            step_key=step_key,
            proof=proof,
            happened=happened,
        )
        settled = settle_locked(context, connection, case, steps.of_case(connection, case.case_id), now=now)
        return Wave(case.case_id, (*wave.steps, *settled.steps))

    return context.db.run(work)


def _set_done(connection: Connection, step: Step, operator: str, proof: str, now: datetime) -> None:
    reason = f"{operator}: {proof}"
    steps.move(
        connection, step, StepState.SUCCEEDED, code="resolved", reason=reason, now=now, reference=proof
    )


def _book_what_was_found(connection: Connection, step: Step, proof: str, now: datetime) -> None:
    """Money that a person found at the payer leaves the reservation and is booked, as if the payer had said so."""
    if step.action != "refund" or step.payment_id is None or step.amount is None:
        return
    if steps.set_reserved(connection, step.step_key, is_reserved=False):
        payments.settle(connection, step.payment_id, step.amount.minor)
    ledger.book_refund(
        connection,
        case_id=step.case_id,
        step_key=step.step_key,
        platform=step.platform,
        amount=step.amount,
        now=now,
        memo=f"refund found by a person: {proof}",
    )


def _send_anew(
    context: Context, connection: Connection, step: Step, operator: str, proof: str, now: datetime
) -> None:
    """A person has proven that nothing happened: its money is still reserved, and the step goes again under the next key."""
    steps.move(
        connection,
        step,
        StepState.RETRY_SCHEDULED,
        code="proven_absent",
        reason=f"{operator}: {proof}",
        now=now,
        due_at=now + timedelta(seconds=context.relaunch_s),
        key_number=step.key_number + 1,
        may_have_happened=False,
    )


def _unless_stale(context: Context, work: Callable[[Connection], T]) -> T:
    try:
        return context.db.run(work)
    except StaleFactsError as stale:
        raise RefusedError(f"{stale.reason}; nothing was changed, try again") from stale


def _may_decide(case: Case, operator: str) -> None:
    if case.state is not CaseState.HELD:
        raise RefusedError(f"the case is {case.state.value}, nothing waits for approval")
    if case.requested_by and case.requested_by == operator:
        raise RefusedError("you asked for this cancellation yourself: somebody else must decide it")
