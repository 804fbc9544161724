"""Policy: each rule with the facts that trigger it and the facts that do not, and sums that never exceed what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.domain.facts import DisputeState, Facts, LineQuantity, OrderFacts, PaymentState, RefundStatus
from refundflow.domain.money import Money
from refundflow.domain.policy import Decision, Policy, Verdict, Wanted, decide_case, scope_lines
from tests.support.facts import (
    GENEROUS,
    NOW,
    a_line,
    an_order,
    authorised,
    captured,
    eur,
    facts_of,
    random_facts,
    refunded,
)

V = Verdict
POLICY = Policy()
DAY_H = 24.0


def wanted_lines(**quantities: int) -> Wanted:
    return Wanted(lines=tuple(LineQuantity(line_id, quantity) for line_id, quantity in quantities.items()))


def in_currency(currency: str, minor: int) -> Facts:
    order = an_order(currency=currency, total=Money(minor, currency))
    return facts_of(order, captured(minor, currency=currency))


def plain(order: OrderFacts | None = None, **changes: Any) -> Facts:
    """An unfulfilled order over 10.00 EUR, paid in full, an hour old, with any field of the order changed."""
    return facts_of(replace(order or an_order(), **changes), captured(1000), quote=eur(1000))


SHIPPED = an_order(a_line("A", 1, shipped=1))
PARTLY = an_order(a_line("A", 1, shipped=1), a_line("B", 1))


# ------------------------------------------------------------------------------------------------ rules, row by row


@pytest.mark.parametrize(
    ("_case", "facts", "wanted", "policy", "verdict", "reason"),
    [
        ("nothing special", plain(), Wanted(), POLICY, V.APPROVE, "within policy"),
        # the limit, per currency
        ("at the limit", in_currency("EUR", 50_000), Wanted(), POLICY, V.APPROVE, "within policy"),
        ("above the limit", in_currency("EUR", 50_001), Wanted(), POLICY, V.HOLD, "above the limit"),
        (
            "another currency's limit",
            in_currency("USD", 700),
            Wanted(),
            Policy(auto_approve_limit=(("EUR", 10**9), ("USD", 699))),
            V.HOLD,
            "above the limit",
        ),
        ("a currency that is not listed", in_currency("CHF", 1), Wanted(), POLICY, V.HOLD, "above the limit"),
        (
            "a currency that is not listed, and no money",
            facts_of(an_order(currency="CHF")),
            Wanted(),
            POLICY,
            V.APPROVE,
            "within policy",
        ),
        # the window
        (
            "at the end of the window",
            plain(an_order(age_h=720)),
            Wanted(),
            POLICY,
            V.APPROVE,
            "within policy",
        ),
        ("past the window", plain(an_order(age_h=720.01)), Wanted(), POLICY, V.HOLD, "older than the window"),
        # hold lists
        ("a reason on the hold list", plain(), Wanted(reason="fraud"), POLICY, V.HOLD, "reason 'fraud'"),
        ("a reason on no list", plain(), Wanted(reason="inventory"), POLICY, V.APPROVE, "within policy"),
        (
            "an address on the hold list",
            plain(email="Eve@Shop.example"),
            Wanted(),
            Policy(hold_emails=("eve@shop.example",)),
            V.HOLD,
            "customer is on the hold list",
        ),
        (
            "an address beside the hold list",
            plain(),
            Wanted(),
            Policy(hold_emails=("eve@shop.example",)),
            V.APPROVE,
            "within policy",
        ),
        (
            "no address meets no empty entry",
            plain(email=""),
            Wanted(),
            Policy(hold_emails=("",)),
            V.APPROVE,
            "within policy",
        ),
        # partly fulfilled
        ("partly shipped", plain(PARTLY), Wanted(), POLICY, V.APPROVE, "within policy"),
        (
            "partly shipped, held by rule",
            plain(PARTLY),
            Wanted(),
            Policy(on_partly_fulfilled="hold"),
            V.HOLD,
            "part of the order was shipped",
        ),
        (
            "partly shipped, declined by rule",
            plain(PARTLY),
            Wanted(),
            Policy(on_partly_fulfilled="decline"),
            V.DECLINE,
            "part of the order was shipped",
        ),
        (
            "not shipped, whatever the rule for partly shipped",
            plain(),
            Wanted(),
            Policy(on_partly_fulfilled="decline"),
            V.APPROVE,
            "within policy",
        ),
        # fulfilled
        ("shipped", plain(SHIPPED), Wanted(), POLICY, V.HOLD, "a person confirms that the goods are back"),
        (
            "shipped, declined by rule",
            plain(SHIPPED),
            Wanted(),
            Policy(on_fulfilled="decline"),
            V.DECLINE,
            "everything was shipped already",
        ),
        (
            "shipped, at the end of the return window",
            plain(an_order(a_line(shipped=1), age_h=30 * DAY_H)),
            Wanted(),
            POLICY,
            V.HOLD,
            "goods are back",
        ),
        (
            "shipped, past the return window",
            plain(an_order(a_line(shipped=1), age_h=30 * DAY_H + 0.01)),
            Wanted(),
            POLICY,
            V.DECLINE,
            "return window is over",
        ),
        (
            "a shipped line of an order that is not all shipped",
            plain(PARTLY),
            wanted_lines(A=1),
            POLICY,
            V.DECLINE,
            "none of the wanted units can be cancelled",
        ),
        # disputes
        (
            "a dispute is open",
            facts_of(an_order(), captured(1000, dispute=DisputeState.OPEN)),
            Wanted(),
            POLICY,
            V.HOLD,
            "a dispute is open or lost",
        ),
        (
            "a dispute was lost",
            facts_of(an_order(), captured(1000, dispute=DisputeState.LOST)),
            Wanted(),
            POLICY,
            V.HOLD,
            "a dispute is open or lost",
        ),
        (
            "a dispute was won",
            facts_of(an_order(), captured(1000, dispute=DisputeState.WON)),
            Wanted(),
            POLICY,
            V.APPROVE,
            "within policy",
        ),
        (
            "an early warning",
            facts_of(an_order(), captured(1000, dispute=DisputeState.WARNING)),
            Wanted(),
            POLICY,
            V.HOLD,
            "a person decides who pays",
        ),
        (
            "an early warning that policy refunds",
            facts_of(an_order(), captured(1000, dispute=DisputeState.WARNING)),
            Wanted(),
            Policy(on_warning="refund"),
            V.APPROVE,
            "within policy",
        ),
        ("a dispute among the sources", plain(), Wanted(is_dispute=True), POLICY, V.HOLD, "who pays"),
        # sources
        (
            "no source could be verified",
            plain(),
            Wanted(is_verified=False),
            POLICY,
            V.HOLD,
            "could be verified",
        ),
        ("a return is open", plain(is_return_open=True), Wanted(), POLICY, V.HOLD, "return is in progress"),
        # nothing to do, and what cannot be done
        (
            "sources that only report",
            plain(),
            Wanted(is_record_only=True),
            POLICY,
            V.NOTHING_TO_DO,
            "done elsewhere",
        ),
        (
            "cancelled, and all given back",
            facts_of(an_order(cancelled_at=NOW), captured(1000, refunds=(refunded(1000),))),
            Wanted(),
            POLICY,
            V.NOTHING_TO_DO,
            "already cancelled",
        ),
        (
            "cancelled, and all on its way back",
            facts_of(
                an_order(cancelled_at=NOW), captured(1000, refunds=(refunded(1000, RefundStatus.PENDING),))
            ),
            Wanted(),
            POLICY,
            V.NOTHING_TO_DO,
            "already cancelled",
        ),
        (
            "cancelled, and the refund failed",
            facts_of(
                an_order(cancelled_at=NOW), captured(1000, refunds=(refunded(1000, RefundStatus.FAILED),))
            ),
            Wanted(),
            POLICY,
            V.APPROVE,
            "within policy",
        ),
        (
            "cancelled, and some is left",
            facts_of(an_order(cancelled_at=NOW), captured(1000, refunds=(refunded(999),))),
            Wanted(),
            POLICY,
            V.APPROVE,
            "within policy",
        ),
        (
            "a line that does not exist",
            plain(),
            wanted_lines(Z=1),
            POLICY,
            V.DECLINE,
            "none of the wanted units",
        ),
        (
            "more is quoted than was paid",
            facts_of(an_order(a_line("A"), a_line("B")), captured(500), quote=eur(501)),
            wanted_lines(A=1),
            POLICY,
            V.HOLD,
            "more is wanted than the payments can give back",
        ),
        (
            "as much is quoted as was paid",
            facts_of(an_order(a_line("A"), a_line("B")), captured(500), quote=eur(500)),
            wanted_lines(A=1),
            POLICY,
            V.APPROVE,
            "within policy",
        ),
    ],
)
def test_what_policy_decides(
    _case: str, facts: Facts, wanted: Wanted, policy: Policy, verdict: Verdict, reason: str
) -> None:
    decision = decide_case(facts, wanted, policy)
    assert decision.verdict is verdict
    assert reason in decision.reason
    assert decision.path[-1] == f"{verdict.value}: {decision.reason}"


HOLDS = [
    ("limit", in_currency("EUR", 50_001), Wanted()),
    ("unlisted currency", in_currency("CHF", 1), Wanted()),
    ("window", plain(an_order(age_h=721)), Wanted()),
    ("reason", plain(), Wanted(reason="fraud")),
    ("shipped", plain(SHIPPED), Wanted()),
    ("warning", facts_of(an_order(), captured(1000, dispute=DisputeState.WARNING)), Wanted()),
    ("dispute among the sources", plain(), Wanted(is_dispute=True)),
    ("unverified", plain(), Wanted(is_verified=False)),
    ("return open", plain(is_return_open=True), Wanted()),
    ("dispute open", facts_of(an_order(), captured(1000, dispute=DisputeState.OPEN)), Wanted()),
]


@pytest.mark.parametrize(("_case", "facts", "wanted"), HOLDS)
def test_a_persons_word_stands_in_for_every_hold(_case: str, facts: Facts, wanted: Wanted) -> None:
    held = decide_case(facts, wanted, POLICY)
    approved = decide_case(facts, wanted, POLICY, approved_by="grace")
    assert (held.verdict, approved.verdict) == (V.HOLD, V.APPROVE)
    assert approved.reason == "approved by grace"
    assert f"hold waived by grace: {held.reason}" in approved.path
    assert (approved.shares, approved.lines) == (held.shares, held.lines)


@pytest.mark.parametrize("dispute", [DisputeState.OPEN, DisputeState.LOST])
def test_a_persons_word_never_makes_a_disputed_payment_refundable(dispute: DisputeState) -> None:
    facts = facts_of(an_order(), captured(1000, dispute=dispute), captured(300, "pay_2"))
    decision = decide_case(facts, Wanted(), POLICY, approved_by="grace")
    assert decision.verdict is V.APPROVE
    assert [(s.reference, s.amount) for s in decision.shares] == [("pay_2", eur(300))]
    assert decision.amount == eur(300)


@pytest.mark.parametrize(
    ("_case", "facts", "wanted", "verdict"),
    [
        ("nothing left to cancel", plain(), wanted_lines(Z=1), V.DECLINE),
        ("a report", plain(), Wanted(is_record_only=True), V.NOTHING_TO_DO),
        ("all given back", facts_of(an_order(cancelled_at=NOW)), Wanted(), V.NOTHING_TO_DO),
    ],
)
def test_a_persons_word_does_not_change_facts(
    _case: str, facts: Facts, wanted: Wanted, verdict: Verdict
) -> None:
    assert decide_case(facts, wanted, POLICY, approved_by="grace").verdict is verdict


# ------------------------------------------------------------------------------------------------ scope


@pytest.mark.parametrize(
    ("_case", "order", "wanted", "is_whole", "lines"),
    [
        ("everything", an_order(a_line("A", 2), a_line("B")), Wanted(), True, {"A": 2, "B": 1}),
        (
            "every unit, listed",
            an_order(a_line("A", 2), a_line("B")),
            wanted_lines(A=2, B=1),
            True,
            {"A": 2, "B": 1},
        ),
        ("more than every unit", an_order(a_line("A", 2)), wanted_lines(A=9), True, {"A": 2}),
        ("some units", an_order(a_line("A", 2)), wanted_lines(A=1), False, {"A": 1}),
        ("one of two lines", an_order(a_line("A"), a_line("B")), wanted_lines(B=1), False, {"B": 1}),
        ("all, but a part was shipped", PARTLY, Wanted(), False, {"B": 1}),
        ("the rest, listed", PARTLY, wanted_lines(A=1, B=1), False, {"B": 1}),
        ("units that were given back", an_order(a_line("A", 3, refundable=1)), Wanted(), True, {"A": 1}),
    ],
)
def test_what_is_cancelled(
    _case: str, order: OrderFacts, wanted: Wanted, is_whole: bool, lines: dict[str, int]
) -> None:
    decision = decide_case(plain(order), wanted, POLICY)
    assert decision.is_whole is is_whole
    assert {line.line_id: line.quantity for line in decision.lines} == lines
    assert not decision.is_return
    assert scope_lines(order, wanted) == (None if is_whole else decision.lines)


def test_a_shipped_order_comes_back_as_a_return_of_its_units() -> None:
    order = an_order(a_line("A", 3, shipped=3, refundable=2), a_line("B", 1, shipped=1, refundable=0))
    decision = decide_case(
        facts_of(order, captured(4000), quote=eur(2000)), Wanted(), POLICY, approved_by="grace"
    )
    assert decision.is_return
    assert decision.lines == (LineQuantity("A", 2),)
    assert decision.amount == eur(2000)


# ------------------------------------------------------------------------------------------------ amounts


@pytest.mark.parametrize(
    ("_case", "payments", "quote", "shares"),
    [
        ("one payment", [captured(1000)], 400, [("pay_1", 400, False)]),
        (
            "the largest capture first",
            [captured(300, "small"), captured(700, "large")],
            800,
            [("large", 700, False), ("small", 100, False)],
        ),
        (
            "captures of one size by name",
            [captured(500, "b"), captured(500, "a")],
            600,
            [("a", 500, False), ("b", 100, False)],
        ),
        (
            "the authorisation before the capture",
            [captured(900, "taken"), authorised(500, "promised")],
            600,
            [("promised", 500, True), ("taken", 100, False)],
        ),
        (
            "an authorisation is never released in part",
            [captured(900, "taken"), authorised(500, "promised")],
            499,
            [("taken", 499, False)],
        ),
        (
            "nothing from a disputed one",
            [captured(900, "disputed", dispute=DisputeState.OPEN), captured(300, "free")],
            400,
            [("free", 300, False)],
        ),
        (
            "less what went back already",
            [captured(900, "a", refunds=(refunded(500), refunded(100, RefundStatus.PENDING)))],
            900,
            [("a", 300, False)],
        ),
        (
            "a failed refund took nothing",
            [captured(900, "a", refunds=(refunded(500, RefundStatus.FAILED),))],
            900,
            [("a", 900, False)],
        ),
        ("nothing was paid", [], 400, []),
    ],
)
def test_which_payment_gives_back_how_much(
    _case: str, payments: list[Any], quote: int, shares: list[tuple[str, int, bool]]
) -> None:
    facts = facts_of(an_order(a_line("A"), a_line("B")), *payments, quote=eur(quote))
    decision = decide_case(facts, wanted_lines(A=1), GENEROUS, approved_by="grace")
    assert [(s.reference, s.amount.minor, s.is_void) for s in decision.shares] == shares
    assert decision.amount == eur(sum(minor for _, minor, _ in shares))


WANTED = st.builds(
    Wanted,
    lines=st.dictionaries(st.sampled_from(["L0", "L1", "L2", "L9"]), st.integers(1, 5), max_size=3).map(
        lambda wanted: tuple(LineQuantity(line_id, quantity) for line_id, quantity in wanted.items())
    ),
    reason=st.sampled_from(["customer", "fraud"]),
    is_verified=st.booleans(),
    is_dispute=st.booleans(),
    is_record_only=st.sampled_from([False, False, True]),
)
ANY_POLICY = st.builds(
    Policy,
    auto_approve_limit=st.sampled_from([(), (("EUR", 5000),), (("EUR", 10**9),)]),
    window_h=st.sampled_from([0.5, 720.0]),
    on_partly_fulfilled=st.sampled_from(["cancel_unfulfilled", "hold", "decline"]),
    on_fulfilled=st.sampled_from(["hold", "decline"]),
    on_warning=st.sampled_from(["hold", "refund"]),
)
APPROVER = st.sampled_from(["", "grace"])


@given(random_facts(), WANTED, ANY_POLICY, APPROVER)
def test_no_decision_gives_back_more_than_there_is(
    facts: Facts, wanted: Wanted, policy: Policy, approved_by: str
) -> None:
    decision = decide_case(facts, wanted, policy, approved_by=approved_by)
    if decision.amount is None:
        assert decision.shares == ()
        return
    payments = {p.reference: p for p in facts.payments}
    assert sum(share.amount.minor for share in decision.shares) == decision.amount.minor
    assert len({share.reference for share in decision.shares}) == len(decision.shares)
    for share in decision.shares:
        payment = payments[share.reference]
        assert payment.dispute not in (DisputeState.OPEN, DisputeState.LOST)
        assert (share.platform, share.gateway) == (payment.platform, payment.gateway)
        assert share.amount.minor > 0
        if share.is_void:
            assert payment.state is PaymentState.AUTHORISED
            assert share.amount == payment.authorised
        else:
            assert payment.state is PaymentState.CAPTURED
            assert share.amount.minor <= payment.captured.minor - payment.refunded
    kinds = [share.is_void for share in decision.shares]
    assert kinds == sorted(kinds, reverse=True), "authorisations are released first"
    if scope_lines(facts.order, wanted) is not None and facts.order.cancelled_at is None:
        assert facts.quote is not None
        assert decision.amount.minor <= facts.quote.minor


@given(random_facts(), WANTED, ANY_POLICY, APPROVER)
def test_only_units_that_can_be_cancelled_are_cancelled(
    facts: Facts, wanted: Wanted, policy: Policy, approved_by: str
) -> None:
    decision = decide_case(facts, wanted, policy, approved_by=approved_by)
    lines = {line.line_id: line for line in facts.order.lines}
    for taken in decision.lines:
        line = lines[taken.line_id]
        assert 0 < taken.quantity <= line.refundable
        assert decision.is_return or taken.quantity <= line.unfulfilled


def decided(facts: Facts, wanted: Wanted, policy: Policy, approved_by: str) -> Decision:
    return decide_case(facts, wanted, policy, approved_by=approved_by)


@given(random_facts(), WANTED, ANY_POLICY, APPROVER)
def test_the_same_inputs_give_the_same_decision_path_and_all(
    facts: Facts, wanted: Wanted, policy: Policy, approved_by: str
) -> None:
    first = decided(facts, wanted, policy, approved_by)
    assert decided(replace(facts), replace(wanted), replace(policy), approved_by) == first
    assert first.policy_version == policy.version
    assert [step for step in first.path if step.startswith(f"{first.verdict.value}: ")] == [first.path[-1]]


@given(random_facts(), WANTED, ANY_POLICY)
def test_a_person_only_ever_turns_a_verdict_towards_yes(facts: Facts, wanted: Wanted, policy: Policy) -> None:
    alone = decided(facts, wanted, policy, "")
    approved = decided(facts, wanted, policy, "grace")
    assert approved.verdict is not V.HOLD
    if alone.verdict in (V.APPROVE, V.NOTHING_TO_DO):
        assert approved.verdict is alone.verdict
    assert (approved.shares, approved.lines, approved.amount) == (alone.shares, alone.lines, alone.amount)


# ------------------------------------------------------------------------------------------------ requests as one


def units(wanted: Wanted) -> dict[str, int]:
    return {line.line_id: line.quantity for line in wanted.lines}


@pytest.mark.parametrize(
    ("_case", "one", "other", "lines"),
    [
        ("the whole order beats lines", Wanted(), wanted_lines(A=1), {}),
        ("lines are beaten by the whole order", wanted_lines(A=1), Wanted(), {}),
        ("other lines are added", wanted_lines(A=1), wanted_lines(B=2), {"A": 1, "B": 2}),
        ("more units beat fewer", wanted_lines(A=1), wanted_lines(A=3), {"A": 3}),
        ("fewer units change nothing", wanted_lines(A=3), wanted_lines(A=1), {"A": 3}),
        ("a report widens nothing", wanted_lines(A=1), Wanted(is_record_only=True), {"A": 1}),
        ("a report asks for nothing", Wanted(is_record_only=True), wanted_lines(A=1), {"A": 1}),
    ],
)
def test_two_requests_are_one(_case: str, one: Wanted, other: Wanted, lines: dict[str, int]) -> None:
    both = one.joined(other)
    assert units(both) == lines
    assert not both.is_record_only


@given(WANTED)
def test_joining_a_request_with_itself_changes_nothing(wanted: Wanted) -> None:
    assert wanted.joined(wanted) == wanted


@given(WANTED, WANTED)
def test_the_order_of_two_requests_changes_only_whose_reason_is_kept(one: Wanted, other: Wanted) -> None:
    both, turned = one.joined(other), other.joined(one)
    if not (
        one.is_record_only and other.is_record_only
    ):  # reports ask for nothing, so what they name is not compared
        assert units(both) == units(turned)
    assert (both.is_dispute, both.is_record_only) == (turned.is_dispute, turned.is_record_only)
    assert {both.reason, turned.reason} <= {one.reason, other.reason}


@given(WANTED, WANTED)
def test_a_request_heard_twice_widens_a_case_once(one: Wanted, other: Wanted) -> None:
    both = one.joined(other)
    again = both.joined(other)
    assert units(again) == units(both)
    assert replace(again, lines=(), reason="") == replace(both, lines=(), reason="")


def test_an_unverified_request_alone_stays_unverified() -> None:
    hint = Wanted(is_verified=False)
    assert not hint.joined(hint).is_verified
    assert hint.joined(Wanted()).is_verified
