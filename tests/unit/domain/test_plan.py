"""The plan: one payer per payment, one owner of the stock, nothing before what it needs, and nothing planned twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from refundflow.domain.commands import (
    AllocateCredit,
    CancelLines,
    CancelOrder,
    CreditNote,
    HumanTask,
    RecordRefund,
    Refund,
    Restock,
    SendMessage,
    VoidInvoice,
    VoidPayment,
)
from refundflow.domain.facts import Facts, InvoiceFacts, InvoiceState, LineQuantity, PaymentFacts
from refundflow.domain.ids import StepKey
from refundflow.domain.plan import (
    Routing,
    acknowledge,
    human_task,
    payment_id_of,
    plan_steps,
    tell_customer,
    tell_staff,
    underway_of,
)
from refundflow.domain.policy import Verdict, Wanted, decide_case
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind
from tests.support.facts import (
    CASE,
    FULL,
    GENEROUS,
    NOW,
    a_line,
    an_invoice,
    an_order,
    authorised,
    captured,
    eur,
    facts_of,
    in_state,
    random_facts,
    refunded,
)

K = StepKind
WHOLE = Wanted()


def plan(
    facts: Facts, wanted: Wanted = WHOLE, routing: Routing = FULL, existing: list[Step] | None = None
) -> list[Step]:
    """The steps of a case that a person approved."""
    wanted = replace(wanted, underway=underway_of(existing or []))
    decision = decide_case(facts, wanted, GENEROUS, approved_by="grace")
    return plan_steps(CASE, facts, decision, routing, existing or [], reason=wanted.reason)


def lines(**quantities: int) -> Wanted:
    return Wanted(lines=tuple(LineQuantity(line_id, quantity) for line_id, quantity in quantities.items()))


def of(steps: list[Step], *commands: type) -> list[Step]:
    return [s for s in steps if isinstance(s.command, commands) and s.kind is not K.HUMAN_TASK]


def one(steps: list[Step], command: type) -> Step:
    (step,) = of(steps, command)
    return step


def humans(steps: list[Step]) -> list[Step]:
    return [s for s in steps if s.kind is K.HUMAN_TASK]


def message(steps: list[Step], template: str) -> Step | None:
    found = [s for s in steps if isinstance(s.command, SendMessage) and s.command.template == template]
    assert len(found) <= 1
    return found[0] if found else None


def ancestors(steps: list[Step], step: Step) -> set[StepKey]:
    """All that must have succeeded before the step runs."""
    by_key = {s.step_key: s for s in steps}
    found: set[StepKey] = set()
    edge = list(step.needs)
    while edge:
        key = edge.pop()
        if key not in found:
            found.add(key)
            edge.extend(by_key[key].needs if key in by_key else ())
    return found


ORDER = an_order(a_line("A", unit=600), a_line("B", unit=400))
PAID = facts_of(ORDER, captured(1000))


# ------------------------------------------------------------------------------------------------ the whole picture


def test_a_paid_order_is_cancelled_restocked_refunded_booked_and_told() -> None:
    steps = plan(replace(PAID, invoice=an_invoice(1000, paid=1000, state=InvoiceState.PAID)))
    assert [(s.kind, s.action, s.platform, s.wave) for s in steps] == [
        (K.CANCEL_ORDER, "cancel_order", "shopify", 2),
        (K.RESTOCK, "restock", "shopify", 3),
        (K.REFUND, "refund", "shopify", 3),
        (K.POST_LEDGER, "credit_note", "xero", 4),
        (K.POST_LEDGER, "record_refund", "xero", 4),
        (K.NOTIFY, "send_message", "mailgun", 3),
        (K.NOTIFY, "send_message", "mailgun", 5),
        (K.NOTIFY, "send_message", "slack", 5),
    ]
    assert [s.number for s in steps] == list(range(8))
    assert {s.state for s in steps} == {StepState.PLANNED}


@pytest.mark.parametrize("verdict", [Verdict.HOLD, Verdict.DECLINE, Verdict.NOTHING_TO_DO])
def test_only_an_approved_decision_makes_a_plan(verdict: Verdict) -> None:
    decision = replace(decide_case(PAID, WHOLE, GENEROUS), verdict=verdict)
    assert plan_steps(CASE, PAID, decision, FULL) == []


def test_nobody_is_told_and_nothing_is_booked_where_nobody_is_named() -> None:
    steps = plan(replace(PAID, invoice=an_invoice()), routing=Routing())
    assert [s.kind for s in steps] == [K.CANCEL_ORDER, K.RESTOCK, K.REFUND]


def test_the_reason_goes_with_the_cancel_and_the_refund() -> None:
    steps = plan(PAID, Wanted(reason="fraud"))
    assert one(steps, CancelOrder).command.reason == "fraud"  # type: ignore[union-attr]  # one() found that command
    assert one(steps, Refund).command.reason == "fraud"  # type: ignore[union-attr]  # one() found that command


# ------------------------------------------------------------------------------------------------ one payer per payment


def test_each_payment_is_returned_by_its_own_payer() -> None:
    facts = facts_of(ORDER, captured(600, "tx_1"), captured(400, "pi_1", platform="stripe", gateway="stripe"))
    steps = of(plan(facts), Refund)
    assert [(s.platform, s.payment_id, s.amount) for s in steps] == [
        ("shopify", payment_id_of("shopify", "tx_1"), eur(600)),
        ("stripe", payment_id_of("stripe", "pi_1"), eur(400)),
    ]


def test_money_of_a_gateway_without_a_payer_is_a_task_for_a_person_with_the_amount() -> None:
    facts = facts_of(ORDER, captured(1000, "tx_9", platform="", gateway="cash_on_delivery"))
    steps = plan(facts)
    (task,) = humans(steps)
    assert of(steps, Refund, VoidPayment) == []
    assert (task.platform, task.amount, task.needs) == (
        "cash_on_delivery",
        eur(1000),
        (one(steps, CancelOrder).step_key,),
    )
    assert isinstance(task.command, HumanTask)
    for word in ("10.00 EUR", "#1001", "cash_on_delivery", "tx_9", "proof"):
        assert word in task.command.text
    assert message(steps, "refund_sent") is None, "nobody has sent money yet"


def test_an_authorisation_of_a_provider_is_voided_and_not_refunded() -> None:
    steps = plan(facts_of(ORDER, authorised(1000, "pi_1")))
    step = one(steps, VoidPayment)
    assert (step.platform, step.amount, step.action) == ("stripe", eur(1000), "void_payment")
    assert of(steps, Refund) == []
    assert message(steps, "refund_sent") is None


def test_the_order_platform_releases_its_own_authorisation_with_the_cancel() -> None:
    facts = facts_of(ORDER, authorised(1000, "tx_1", platform="shopify", gateway="shopify_payments"))
    steps = plan(facts)
    assert of(steps, VoidPayment, Refund) == []
    assert len(of(steps, CancelOrder)) == 1


@given(random_facts())
def test_every_payment_is_in_at_most_one_money_step_of_its_payer(facts: Facts) -> None:
    decision = decide_case(facts, WHOLE, GENEROUS, approved_by="grace")
    steps = plan_steps(CASE, facts, decision, FULL)
    money = of(steps, Refund, VoidPayment)
    assert len({s.payment_id for s in money}) == len(money)
    payments = {payment_id_of(p.platform, p.reference): p for p in facts.payments}
    for step in money:
        assert step.payment_id is not None
        payment = payments[step.payment_id]
        assert step.platform == payment.platform == FULL.payer_of(payment.gateway)
        assert step.amount == step.command.amount  # type: ignore[union-attr]  # both commands carry one
    routed = [s for s in decision.shares if s.platform and not (s.is_void and s.platform == "shopify")]
    by_hand = [s for s in decision.shares if not s.platform]
    if decision.verdict is Verdict.APPROVE:
        assert [s.amount for s in money] == [s.amount for s in routed]
        assert [s.amount for s in humans(steps) if s.amount] == [s.amount for s in by_hand]


@pytest.mark.parametrize(
    ("_case", "payment", "awaited"),
    [
        ("a provider's authorisation: after its void", authorised(1000, "pi_1"), VoidPayment),
        (
            "the order platform's own: after the cancel",
            authorised(1000, "tx_1", platform="shopify", gateway="shopify_payments"),
            CancelOrder,
        ),
    ],
)
def test_nothing_charged_is_told_when_the_authorisation_is_gone(
    _case: str, payment: PaymentFacts, awaited: type
) -> None:
    steps = plan(facts_of(ORDER, payment))
    told = message(steps, "nothing_charged")
    assert told is not None
    assert told.needs == (one(steps, awaited).step_key,)


def test_a_customer_who_was_charged_is_not_told_otherwise() -> None:
    facts = facts_of(
        ORDER, captured(400, "pi_2", platform="stripe", gateway="stripe"), authorised(600, "pi_1")
    )
    assert message(plan(facts), "nothing_charged") is None
    assert message(plan(PAID), "nothing_charged") is None


# ------------------------------------------------------------------------------------------------ one owner of the stock


@pytest.mark.parametrize("wanted", [WHOLE, lines(A=1)])
@pytest.mark.parametrize(
    ("_case", "owner", "is_carried", "restocks"),
    [
        ("the order platform owns it", "shopify", True, ["shopify"]),
        ("somebody else owns it", "zoho_inventory", False, ["zoho_inventory"]),
        ("nobody owns it", "", False, []),
    ],
)
def test_stock_goes_back_once(
    _case: str, owner: str, is_carried: bool, restocks: list[str], wanted: Wanted
) -> None:
    steps = plan(replace(PAID, quote=eur(600)), wanted, replace(FULL, stock_owner=owner))
    (cancel,) = of(steps, CancelOrder, CancelLines)
    assert isinstance(cancel.command, CancelOrder | CancelLines)
    assert cancel.command.restock is is_carried
    found = of(steps, Restock)
    assert [s.platform for s in found] == restocks
    for step in found:
        assert isinstance(step.command, Restock)
        assert step.command.carried_by == (cancel.step_key if is_carried else "")
        assert step.needs == (cancel.step_key,)
        assert not step.command.is_return


@given(random_facts(), st.sampled_from(["shopify", "zoho_inventory", ""]))
def test_a_restock_is_carried_by_the_cancel_or_a_step_of_its_own_and_never_both(
    facts: Facts, owner: str
) -> None:
    steps = plan(facts, routing=replace(FULL, stock_owner=owner))
    cancels, restocks = of(steps, CancelOrder, CancelLines), of(steps, Restock)
    assert len(cancels) <= 1
    assert len(restocks) <= 1
    for cancel in cancels:
        assert cancel.command.restock is (owner == "shopify")  # type: ignore[union-attr]  # both commands say it
    for step in restocks:
        assert step.platform == owner
        assert isinstance(step.command, Restock)
        assert bool(step.command.carried_by) is (bool(cancels) and owner == "shopify")
        assert not step.command.carried_by or step.command.carried_by == cancels[0].step_key


def test_a_return_is_restocked_without_a_cancel() -> None:
    facts = facts_of(an_order(a_line("A", 2, shipped=2)), captured(2000), quote=eur(2000))
    steps = plan(facts)
    assert of(steps, CancelOrder, CancelLines) == []
    restock = one(steps, Restock).command
    assert isinstance(restock, Restock)
    assert (restock.is_return, restock.carried_by, restock.lines) == (True, "", (LineQuantity("A", 2),))
    assert one(steps, Refund).needs == ()


def test_what_was_cancelled_elsewhere_is_refunded_and_neither_cancelled_nor_restocked_again() -> None:
    steps = plan(facts_of(replace(ORDER, cancelled_at=NOW), captured(1000)))
    assert of(steps, CancelOrder, CancelLines, Restock) == []
    assert one(steps, Refund).amount == eur(1000)


@pytest.mark.parametrize(
    ("_case", "routed", "of_order", "location"),
    [
        ("the shop names the place", "loc-1", "loc-2", "loc-1"),
        ("the order names it", "", "loc-2", "loc-2"),
        ("nobody names it", "", "", ""),
    ],
)
def test_where_units_go_back(_case: str, routed: str, of_order: str, location: str) -> None:
    facts = facts_of(replace(ORDER, location=of_order), captured(1000), quote=eur(600))
    steps = plan(facts, lines(A=1), replace(FULL, stock_location=routed))
    assert [s.command.location for s in of(steps, CancelLines, Restock)] == [location, location]  # type: ignore[union-attr]  # both commands name it


# ------------------------------------------------------------------------------------------------ what waits for what


@given(random_facts(), st.booleans())
def test_a_step_comes_after_all_that_it_waits_for(facts: Facts, is_whole: bool) -> None:
    steps = plan(facts, WHOLE if is_whole else lines(L0=1))
    seen: set[StepKey] = set()
    for step in steps:
        awaited = {*step.needs, *step.follows, *(key for _, key in step.uses)}
        assert awaited <= seen
        assert {key for _, key in step.uses} <= ancestors(steps, step)
        seen.add(step.step_key)


@given(random_facts(), st.booleans())
def test_no_money_before_the_cancel_and_no_word_of_it_before_the_money(facts: Facts, is_whole: bool) -> None:
    steps = plan(facts, WHOLE if is_whole else lines(L0=1))
    cancels = {s.step_key for s in of(steps, CancelOrder, CancelLines)}
    refunds = {s.step_key for s in of(steps, Refund)}
    for step in [*of(steps, Refund, VoidPayment, Restock), *[h for h in humans(steps) if h.amount]]:
        assert cancels <= set(step.needs)
    for step in of(steps, CreditNote, AllocateCredit, RecordRefund):
        assert cancels | refunds <= ancestors(steps, step)
    told = message(steps, "refund_sent")
    assert (told is not None) is bool(refunds)
    assert told is None or set(told.needs) == refunds


@given(random_facts())
def test_the_cancel_is_told_without_waiting_for_money(facts: Facts) -> None:
    steps = plan(facts)
    cancels = [s.step_key for s in of(steps, CancelOrder, CancelLines)]
    told = message(steps, "order_cancelled")
    assert (told is not None) is bool(cancels)
    assert told is None or (list(told.needs), told.follows) == (cancels, ())


def test_staff_hear_how_it_ended_and_hold_nothing_up() -> None:
    steps = plan(replace(PAID, invoice=an_invoice(1000, paid=1000, state=InvoiceState.PAID)))
    report = message(steps, "case_report")
    assert report is not None
    effects = [s.step_key for s in steps if s.kind is not K.NOTIFY]
    assert (report.needs, sorted(report.follows)) == ((), sorted(effects))
    assert not any(report.step_key in (*s.needs, *s.follows) for s in steps)


@pytest.mark.parametrize(
    ("_case", "facts", "routing"),
    [
        ("no address", facts_of(replace(ORDER, email=""), captured(1000)), FULL),
        ("no channel", PAID, replace(FULL, customer_channel="")),
        ("the shop sends none of them", PAID, replace(FULL, messages=())),
    ],
)
def test_a_customer_who_cannot_be_told_is_not_told(_case: str, facts: Facts, routing: Routing) -> None:
    steps = [*acknowledge(CASE, facts, routing), *plan(facts, routing=routing)]
    assert [s.platform for s in steps if s.kind is K.NOTIFY] == ["slack"]


# ------------------------------------------------------------------------------------------------ the books

AUTHORISED = authorised(1000, "pi_1")


@pytest.mark.parametrize(
    ("_case", "invoice", "payments", "wanted", "writes"),
    [
        (
            "open, nothing paid: void it",
            an_invoice(1000),
            [AUTHORISED],
            WHOLE,
            [("void_invoice", None)],
        ),
        (
            "a draft: void it",
            an_invoice(1000, state=InvoiceState.DRAFT),
            [AUTHORISED],
            WHOLE,
            [("void_invoice", None)],
        ),
        ("voided already", an_invoice(1000, state=InvoiceState.VOIDED), [captured(1000)], WHOLE, []),
        ("no invoice", None, [captured(1000)], WHOLE, []),
        (
            "paid: a note and the cash",
            an_invoice(1000, paid=1000, state=InvoiceState.PAID),
            [captured(1000)],
            WHOLE,
            [("credit_note", 1000), ("record_refund", 1000)],
        ),
        (
            "paid by two payments: one note, each its cash",
            an_invoice(1000, paid=1000, state=InvoiceState.PAID),
            [captured(700, "a"), captured(300, "b", platform="stripe", gateway="stripe")],
            WHOLE,
            [("credit_note", 1000), ("record_refund", 700), ("record_refund", 300)],
        ),
        (
            "paid in part: what is due is set off, what was paid goes back",
            an_invoice(1000, paid=600),
            [captured(600)],
            WHOLE,
            [("credit_note", 1000), ("allocate_credit", 400), ("record_refund", 600)],
        ),
        (
            "paid in part, nothing taken by a payer: what is due is set off",
            an_invoice(1000, paid=600),
            [],
            WHOLE,
            [("credit_note", 400), ("allocate_credit", 400)],
        ),
        (
            "some lines of a paid one: a note over what goes back",
            an_invoice(1000, paid=1000, state=InvoiceState.PAID),
            [captured(1000)],
            lines(A=1),
            [("credit_note", 600), ("record_refund", 600)],
        ),
        ("some lines, no money back", an_invoice(1000), [], lines(A=1), []),
    ],
)
def test_what_the_invoice_asks_for(
    _case: str,
    invoice: InvoiceFacts | None,
    payments: list[Any],
    wanted: Wanted,
    writes: list[tuple[str, int | None]],
) -> None:
    steps = plan(facts_of(ORDER, *payments, invoice=invoice, quote=eur(600)), wanted)
    books = [s for s in steps if s.kind is K.POST_LEDGER]
    assert [(s.action, s.amount.minor if s.amount else None) for s in books] == writes
    assert {s.platform for s in books} <= {"xero"}


@given(random_facts(), st.booleans())
def test_a_credit_note_is_the_sum_of_what_it_is_used_for(facts: Facts, is_whole: bool) -> None:
    steps = plan(facts, WHOLE if is_whole else lines(L0=1))
    notes = of(steps, CreditNote)
    parts = of(steps, AllocateCredit, RecordRefund)
    assert len(notes) <= 1
    assert sum(s.amount.minor for s in notes if s.amount) == sum(s.amount.minor for s in parts if s.amount)
    for step in parts:
        assert ("credit_note_id", notes[0].step_key) in step.uses
    refunds = {s.step_key: s.amount for s in of(steps, Refund)}
    booked = {dict(s.uses)["refund_reference"]: s.amount for s in of(steps, RecordRefund)}
    assert booked == (refunds if notes else {})
    assert not (notes and of(steps, VoidInvoice)), "an invoice is voided or credited, not both"


def test_a_credit_notes_number_is_ours_short_and_the_same_each_time() -> None:
    facts = replace(PAID, invoice=an_invoice(1000, paid=1000, state=InvoiceState.PAID))
    note = one(plan(facts), CreditNote).command
    assert isinstance(note, CreditNote)
    assert note.number == f"CN-{CASE}-1"
    assert len(note.number) <= 40


def test_an_invoice_in_another_currency_is_booked_by_a_person_after_the_money() -> None:
    invoice = an_invoice(1000, paid=1000, state=InvoiceState.PAID)
    usd = {
        name: replace(getattr(invoice, name), currency="USD") for name in ("total", "due", "paid", "credited")
    }
    steps = plan(replace(PAID, invoice=replace(invoice, **usd)))
    assert [s for s in steps if s.kind is K.POST_LEDGER] == []
    (task,) = humans(steps)
    assert (task.platform, task.needs) == ("xero", (one(steps, Refund).step_key,))


# ------------------------------------------------------------------------------------------------ planned again

# "Nothing was charged", books and tasks for people, planned again, are in test_found.py.
TOLD = replace(FULL, messages=("cancellation_received", "order_cancelled", "refund_sent"))
ROUTED = random_facts(("shopify_payments", "stripe"), has_books=False)


@given(random_facts(), st.booleans())
def test_keys_are_unique_and_the_same_each_time(facts: Facts, is_whole: bool) -> None:
    wanted = WHOLE if is_whole else lines(L0=1)
    steps = plan(facts, wanted)
    assert plan(facts, wanted) == steps
    assert len({s.step_key for s in steps}) == len(steps)
    assert all(s.command.step_key == s.step_key for s in steps)
    assert all(s.command.key == f"refundflow:{s.step_key}:1" for s in steps)


@given(
    ROUTED,
    st.booleans(),
    st.sampled_from([StepState.PLANNED, StepState.IN_FLIGHT, StepState.RETRY_SCHEDULED, StepState.UNKNOWN]),
)
def test_planning_again_adds_nothing_where_nothing_is_new(
    facts: Facts, is_whole: bool, state: StepState
) -> None:
    wanted = WHOLE if is_whole else lines(L0=1)
    existing = in_state(plan(facts, wanted, TOLD), state)
    assert plan(facts, wanted, TOLD, existing) == []


@given(
    st.lists(st.tuples(st.integers(1, 4000), st.booleans()), min_size=2, max_size=4),
    st.integers(1, 3),
    st.sampled_from(["shopify", "stripe"]),
)
def test_a_widened_case_gets_the_difference_and_no_more(
    items: list[tuple[int, bool]], payers: int, platform: str
) -> None:
    assume(any(is_first for _, is_first in items))
    assume(not items[-1][1])  # at least one line is asked for later
    # One more line stays in the order, so that it is never cancelled as a whole.
    order = an_order(*(a_line(f"L{n}", unit=unit) for n, (unit, _) in enumerate([*items, (500, False)])))
    total = sum(unit for unit, _ in items) + 500
    paid = [total // payers + (total % payers if n == 0 else 0) for n in range(payers)]
    gateway = {"shopify": "shopify_payments", "stripe": "stripe"}[platform]
    payments = [captured(m, f"pay_{n}", platform=platform, gateway=gateway) for n, m in enumerate(paid)]

    first = {f"L{n}": unit for n, (unit, is_first) in enumerate(items) if is_first}
    wide = {f"L{n}": unit for n, (unit, _) in enumerate(items)}
    narrow_facts = facts_of(order, *payments, quote=eur(sum(first.values())))
    # The order platform is asked what the new units are worth, not those that the case takes already.
    wide_facts = facts_of(order, *payments, quote=eur(sum(wide.values()) - sum(first.values())))
    existing = plan(narrow_facts, lines(**dict.fromkeys(first, 1)))
    added = plan(wide_facts, lines(**dict.fromkeys(wide, 1)), existing=existing)

    assert sum(s.amount.minor for s in of(existing, Refund) if s.amount) == sum(first.values())
    assert sum(s.amount.minor for s in of(added, Refund) if s.amount) == sum(wide.values()) - sum(
        first.values()
    )
    cancelled = [x for s in of([*existing, *added], CancelLines) for x in s.command.lines]  # type: ignore[union-attr]  # of() found those commands
    assert sorted((x.line_id, x.quantity) for x in cancelled) == [(line_id, 1) for line_id in sorted(wide)]
    restocked = [x for s in of([*existing, *added], Restock) for x in s.command.lines]  # type: ignore[union-attr]  # of() found those commands
    assert sorted(restocked, key=str) == sorted(cancelled, key=str)
    assert len({s.step_key for s in [*existing, *added]}) == len(existing) + len(added)


def test_lines_that_become_the_whole_order_are_followed_by_one_cancel_and_the_rest_of_the_money() -> None:
    facts = facts_of(ORDER, captured(1000), quote=eur(600))
    existing = plan(facts, lines(A=1))
    added = plan(replace(facts, quote=None), existing=existing)
    whole = one(added, CancelOrder)
    assert whole.follows == (one(existing, CancelLines).step_key,)
    assert [(s.amount, s.needs) for s in of(added, Refund)] == [(eur(400), (whole.step_key,))]
    assert plan(replace(facts, quote=None), existing=[*existing, *added]) == []


def test_a_refund_that_the_payer_shows_is_not_taken_off_twice() -> None:
    facts = facts_of(ORDER, captured(1000), quote=eur(600))
    existing = in_state(plan(facts, lines(A=1)), StepState.SUCCEEDED)
    after = facts_of(
        an_order(a_line("A", 0, unit=600), a_line("B", unit=400)),
        captured(1000, refunds=(refunded(600, step_key=f"{CASE}.refund.1"),)),
    )
    assert [s.amount for s in of(plan(after, existing=existing), Refund)] == [eur(400)]


def test_a_refund_that_was_reversed_is_planned_again_under_a_new_key() -> None:
    facts = facts_of(replace(ORDER, cancelled_at=NOW), captured(1000))
    existing = in_state(plan(facts), StepState.SUCCEEDED)
    existing = in_state(existing, StepState.REVERSED, K.REFUND)
    (again,) = of(plan(facts, existing=existing), Refund)
    assert (again.step_key, again.amount) == (f"{CASE}.refund.2", eur(1000))


def test_a_dead_refund_keeps_its_money() -> None:
    existing = in_state(plan(PAID), StepState.DEAD_LETTERED, K.REFUND)
    assert of(plan(PAID, existing=existing), Refund) == []


# ------------------------------------------------------------------------------------------------ messages beside the plan


def test_a_request_is_acknowledged_once() -> None:
    first = acknowledge(CASE, PAID, FULL)
    assert [(s.step_key, s.wave, s.needs) for s in first] == [(f"{CASE}.notify.1", 1, ())]
    assert message(first, "cancellation_received") is first[0]
    assert acknowledge(CASE, PAID, FULL, first) == []


def test_the_plan_counts_on_from_the_acknowledgement() -> None:
    first = acknowledge(CASE, PAID, FULL)
    told = message(plan(PAID, existing=first), "order_cancelled")
    assert told is not None
    assert told.step_key == f"{CASE}.notify.2"


def test_messages_and_tasks_outside_the_plan_have_keys_of_their_own() -> None:
    existing = plan(PAID)
    others = [
        *tell_customer(CASE, PAID, FULL, "refund_failed", existing),
        *tell_staff(CASE, FULL, existing),
        human_task(CASE, existing, "etsy", "Cancel it at Etsy.", eur(5)),
    ]
    assert [(s.platform, s.action, s.amount) for s in others] == [
        ("mailgun", "send_message", None),
        ("slack", "send_message", None),
        ("etsy", "human_task", eur(5)),
    ]
    assert not {s.step_key for s in others} & {s.step_key for s in existing}
    assert tell_customer(CASE, PAID, Routing(), "refund_failed") == []
    assert tell_staff(CASE, Routing(), []) == []


@pytest.mark.parametrize(
    ("gateway", "payer"), [("shopify_payments", "shopify"), ("stripe", "stripe"), ("", ""), ("gift_card", "")]
)
def test_a_gateway_has_the_payer_that_the_shop_named(gateway: str, payer: str) -> None:
    assert FULL.payer_of(gateway) == payer


@pytest.mark.parametrize(
    ("pattern", "number"), [("{number}", "1001"), ("INV-{number}", "INV-1001"), ("fixed", "fixed")]
)
def test_the_invoice_is_numbered_after_the_order(pattern: str, number: str) -> None:
    assert replace(FULL, invoice_number=pattern).invoice_number_of("#1001") == number
