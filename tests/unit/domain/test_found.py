"""Mistakes that were found in the rules, each with the test that would have caught it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from refundflow.domain.commands import (
    AllocateCredit,
    CancelLines,
    CancelOrder,
    CreditNote,
    RecordRefund,
    Refund,
    Restock,
    SendMessage,
    VoidInvoice,
)
from refundflow.domain.facts import DisputeState, Facts, InvoiceState, LineQuantity, PaymentFacts
from refundflow.domain.money import Money
from refundflow.domain.outcomes import NotFound, Retryable
from refundflow.domain.plan import acknowledge, plan_steps, underway_of
from refundflow.domain.policy import Policy, Verdict, Wanted, decide_case
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind, settle_look
from tests.support.facts import (
    CASE,
    FULL,
    GENEROUS,
    NOW,
    a_line,
    a_step,
    an_invoice,
    an_order,
    authorised,
    captured,
    eur,
    facts_of,
    in_state,
    refunded,
)

POLICY = Policy()
S = StepState
K = StepKind


def plan(
    facts: Facts, wanted: Wanted | None = None, existing: list[Step] | None = None, **routing: Any
) -> list[Step]:
    wanted = replace(wanted or Wanted(), underway=underway_of(existing or []))
    decision = decide_case(facts, wanted, GENEROUS, approved_by="grace")
    return plan_steps(CASE, facts, decision, replace(FULL, **routing), existing or [])


def lines(**quantities: int) -> Wanted:
    return Wanted(lines=tuple(LineQuantity(line_id, quantity) for line_id, quantity in quantities.items()))


def of(steps: list[Step], *commands: type) -> list[Step]:
    return [s for s in steps if isinstance(s.command, commands)]


def sums(steps: list[Step], *commands: type) -> list[int]:
    return [s.amount.minor for s in of(steps, *commands) if s.amount]


# ------------------------------------------------------------------------------------------------ the plan: paying twice


def test_one_unit_of_three_is_not_cancelled_and_refunded_again_when_planned_again() -> None:
    before = facts_of(an_order(a_line("A", 3)), captured(3000), quote=eur(1000))
    existing = in_state(plan(before, lines(A=1)), S.SUCCEEDED)
    assert sums(existing, Refund) == [1000]
    after = facts_of(
        an_order(a_line("A", 2)),
        captured(3000, refunds=(refunded(1000, step_key=f"{CASE}.refund.1"),)),
        quote=eur(1000),
    )
    added = plan(after, lines(A=1), existing)
    assert of(added, CancelLines, Refund, Restock) == []


def test_a_second_line_asked_for_later_does_not_take_another_unit_of_the_first() -> None:
    before = facts_of(an_order(a_line("A", 3), a_line("B", 2)), captured(5000), quote=eur(1000))
    existing = in_state(plan(before, lines(A=1)), S.SUCCEEDED)
    after = facts_of(
        an_order(a_line("A", 2), a_line("B", 2)),
        captured(5000, refunds=(refunded(1000, step_key=f"{CASE}.refund.1"),)),
        quote=eur(2000),  # the order platform is asked about the scope, which names A again
    )
    added = plan(after, lines(A=1).joined(lines(B=1)), existing)
    assert [s.command.lines for s in of(added, CancelLines)] == [(LineQuantity("B", 1),)]  # type: ignore[union-attr]  # of() found that command


@pytest.mark.parametrize("state", [S.PLANNED, S.DEAD_LETTERED, S.SUCCEEDED])
def test_money_given_back_by_hand_is_asked_for_once(state: StepState) -> None:
    facts = facts_of(an_order(), captured(1000, "tx_9", platform="", gateway="cash"))
    existing = in_state(plan(facts), state)
    assert [s.amount for s in existing if s.kind is K.HUMAN_TASK] == [eur(1000)]
    added = plan(facts, existing=existing)
    assert [s.amount for s in added if s.kind is K.HUMAN_TASK] == []


# ------------------------------------------------------------------------------------------------ the plan: paying too little


@pytest.mark.parametrize("state", [S.PLANNED, S.RETRY_SCHEDULED, S.DEAD_LETTERED])
def test_a_refund_that_waits_does_not_eat_the_refund_of_lines_asked_for_later(state: StepState) -> None:
    before = facts_of(
        an_order(a_line("A", unit=600), a_line("B", unit=300), a_line("C")), captured(1900), quote=eur(600)
    )
    existing = in_state(plan(before, lines(A=1)), S.SUCCEEDED)
    existing = in_state(existing, state, K.REFUND)
    after = facts_of(
        an_order(a_line("A", 0, unit=600), a_line("B", unit=300), a_line("C")), captured(1900), quote=eur(300)
    )
    added = plan(after, lines(A=1, B=1), existing)
    assert sums(added, Refund) == [300]


@pytest.mark.parametrize("state", [S.IN_FLIGHT, S.UNKNOWN, S.DEAD_LETTERED])
def test_a_refund_without_an_answer_that_the_payer_shows_is_taken_off_once(state: StepState) -> None:
    before = facts_of(an_order(a_line("A", unit=300), a_line("B", unit=700)), captured(1000), quote=eur(300))
    existing = in_state(plan(before, lines(A=1)), S.SUCCEEDED)
    existing = in_state(existing, state, K.REFUND)
    after = facts_of(
        an_order(a_line("A", 0, unit=300), a_line("B", unit=700)),
        captured(1000, refunds=(refunded(300, step_key=f"{CASE}.refund.1"),)),
    )
    assert sums(plan(after, existing=existing), Refund) == [700]


# ------------------------------------------------------------------------------------------------ the plan: order and stock


def test_a_refund_that_a_person_discarded_is_not_planned_again() -> None:
    order = an_order(a_line("A"), a_line("B"), a_line("C"))
    existing = in_state(plan(facts_of(order, captured(3000), quote=eur(1000)), lines(A=1)), S.SUCCEEDED)
    after_first = facts_of(
        an_order(a_line("A", 0), a_line("B"), a_line("C")),
        captured(3000, refunds=(refunded(1000, step_key=f"{CASE}.refund.1"),)),
        quote=eur(1000),
    )
    second = plan(after_first, lines(A=1, B=1), existing)
    assert len(of(second, CancelLines)) == 1
    existing += in_state(second, S.SKIPPED, K.REFUND)  # the refund of B was discarded, its cancel still runs
    assert of(plan(after_first, lines(A=1, B=1), existing), Refund) == []


def test_lines_that_become_the_whole_order_are_put_back_once_each() -> None:
    order = an_order(a_line("A"), a_line("B"))
    facts = facts_of(order, captured(2000), quote=eur(1000))
    existing = plan(facts, lines(A=1), stock_owner="zoho_inventory")
    added = plan(facts, existing=existing, stock_owner="zoho_inventory")
    assert len(of(added, CancelOrder)) == 1
    put_back: Counter[str] = Counter()
    for step in of([*existing, *added], Restock):
        for line in step.command.lines:  # type: ignore[union-attr]  # of() found that command
            put_back[line.line_id] += line.quantity
    assert put_back == {"A": 1, "B": 1}


# ------------------------------------------------------------------------------------------------ the plan: honest messages


def test_nothing_charged_is_not_told_when_a_refunded_case_is_planned_again() -> None:
    facts = facts_of(an_order(), captured(500, "a"), authorised(500, "b"))
    existing = plan(facts)
    assert sums(existing, Refund) == [500]
    assert plan(facts, existing=existing) == []


@pytest.mark.parametrize(
    ("_case", "charged"),
    [
        ("a person gives the rest back", captured(500, "a", platform="", gateway="cash")),
        ("the rest is disputed", captured(500, "a", dispute=DisputeState.OPEN)),
        ("the rest was given back before", captured(500, "a", refunds=(refunded(500),))),
    ],
)
def test_nothing_charged_is_not_told_to_who_was_charged(_case: str, charged: PaymentFacts) -> None:
    steps = plan(facts_of(an_order(), charged, authorised(500, "b")))
    templates = [s.command.template for s in of(steps, SendMessage)]  # type: ignore[union-attr]  # of() found that command
    assert "nothing_charged" not in templates


# ------------------------------------------------------------------------------------------------ the plan: the books


def test_what_is_due_is_forgiven_once() -> None:
    facts = facts_of(an_order(), captured(600), invoice=an_invoice(1000, paid=600))
    existing = plan(facts)
    assert sums(existing, CreditNote) == [1000]
    assert plan(facts, existing=existing) == []


@pytest.mark.parametrize("state", [S.PLANNED, S.UNKNOWN])
def test_an_invoice_that_is_being_credited_is_not_voided(state: StepState) -> None:
    facts = facts_of(an_order(), captured(1000), invoice=an_invoice(1000))
    existing = in_state(plan(facts), state)
    assert len(of(existing, CreditNote)) == 1
    assert of(plan(facts, existing=existing), VoidInvoice, CreditNote, AllocateCredit) == []


def test_a_credit_note_is_never_larger_than_what_is_left_of_its_invoice() -> None:
    # Taken by the payer an hour ago; the books hear of it with the next payout.
    facts = facts_of(an_order(), captured(1000), invoice=an_invoice(1000, paid=0, state=InvoiceState.OPEN))
    steps = plan(facts)
    assert sum(sums(steps, CreditNote)) <= 1000
    assert sum(sums(steps, CreditNote)) == sum(sums(steps, AllocateCredit, RecordRefund))


# ------------------------------------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("_case", "verified"),
    [
        ("some lines were asked for by a verified source", lines(A=1)),
        ("the verified source only reported", Wanted(is_record_only=True)),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_what_only_an_unverified_source_asked_for_waits_for_a_person(
    _case: str, verified: Wanted, is_first: bool
) -> None:
    hint = Wanted(is_verified=False)
    wanted = verified.joined(hint) if is_first else hint.joined(verified)
    facts = facts_of(an_order(a_line("A"), a_line("B")), captured(2000))
    assert decide_case(facts, wanted, POLICY).verdict is Verdict.HOLD


def test_a_payment_in_another_currency_than_the_order_waits_for_a_person() -> None:
    facts = facts_of(an_order(), captured(1000, currency="CHF"))
    assert decide_case(facts, Wanted(), POLICY).verdict is Verdict.HOLD


def test_lines_without_a_quote_are_not_approved_for_nothing() -> None:
    facts = facts_of(an_order(a_line("A"), a_line("B")), captured(2000), quote=None)
    assert decide_case(facts, lines(A=1), POLICY).verdict is Verdict.HOLD


@pytest.mark.parametrize(
    ("_case", "wanted", "taken"),
    [
        ("a line named twice", (("A", 1), ("A", 1)), {"A": 1}),
        ("a line named with nothing", (("A", 1), ("B", 0)), {"A": 1}),
        ("a line named with less than nothing", (("A", 1), ("B", -1)), {"A": 1}),
    ],
)
def test_no_line_is_cancelled_more_often_than_it_is_there(
    _case: str, wanted: tuple[tuple[str, int], ...], taken: dict[str, int]
) -> None:
    facts = facts_of(
        an_order(a_line("A", 1), a_line("B", 1), a_line("C", 1)), captured(3000), quote=eur(1000)
    )
    asked = Wanted(lines=tuple(LineQuantity(line_id, quantity) for line_id, quantity in wanted))
    found: Counter[str] = Counter()
    for line in decide_case(facts, asked, POLICY).lines:
        found[line.line_id] += line.quantity
    assert dict(found) == taken


def test_an_order_whose_units_were_all_taken_out_is_not_a_return() -> None:
    order = an_order(a_line("A", 0))
    assert not order.is_fulfilled
    decision = decide_case(facts_of(order, captured(1000, refunds=(refunded(1000),))), Wanted(), POLICY)
    assert not decision.is_return
    assert decision.verdict is not Verdict.HOLD


# ------------------------------------------------------------------------------------------------ steps


def test_an_absence_proves_nothing_while_pending_even_without_a_reference() -> None:
    step = a_step(state=S.PENDING, may_have_happened=True, sent_at=NOW)
    assert not isinstance(settle_look(NotFound(0.0), step, NOW), Retryable)


def test_a_request_is_acknowledged_once_whatever_kind_of_iterable_the_steps_are() -> None:
    facts = facts_of(an_order(), captured(1000))
    first = acknowledge(CASE, facts, FULL)
    assert acknowledge(CASE, facts, FULL, iter(first)) == []


# ------------------------------------------------------------------------------------------------ money


@pytest.mark.parametrize("value", [42.5, 42.0, True])
def test_no_float_or_bool_is_read_as_an_amount(value: Any) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        Money.from_major(value, "EUR")


@pytest.mark.parametrize("text", ["1.0000000000000000000000000000001", Decimal("0." + "9" * 40)])
def test_decimals_beyond_the_currency_are_refused_however_far_behind(text: str | Decimal) -> None:
    with pytest.raises(ValueError, match="more decimals"):
        Money.from_major(text, "EUR")


def test_large_amounts_are_exact_or_refused() -> None:
    assert (
        Money.from_major("99999999999999999999999999999.99", "EUR").minor == 9999999999999999999999999999999
    )


@pytest.mark.parametrize(
    ("_case", "make"),
    [
        ("an exponent out of range", lambda: Money.from_major("9E+999999999999999999", "EUR")),
        ("no currency", lambda: Money(1, None)),  # type: ignore[arg-type]  # what an unreadable answer may hold
    ],
)
def test_what_is_no_money_is_a_value_error_and_nothing_else(_case: str, make: Any) -> None:
    with pytest.raises(ValueError, match="not"):
        make()
