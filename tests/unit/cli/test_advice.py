"""What a person is told about a step, as a table: the next command must never pay without asking."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from refundflow.cli.advice import advise, advise_case
from refundflow.domain.commands import CancelOrder, Refund, SendMessage
from refundflow.domain.ids import CaseId, PaymentId, StepKey
from refundflow.domain.money import Money
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Step, StepKind

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
KEY = StepKey("RF-1.refund.1")
REFUND = Step(
    step_key=KEY,
    case_id=CaseId("RF-1"),
    number=1,
    kind=StepKind.REFUND,
    action="refund",
    platform="stripe",
    command=Refund(
        step_key=KEY,
        key="k",
        order_id="1",
        order_number="#1",
        payment_reference="pi_1",
        gateway="stripe",
        amount=Money(4250, "EUR"),
    ),
    state=StepState.DEAD_LETTERED,
    amount=Money(4250, "EUR"),
    payment_id=PaymentId("stripe:pi_1"),
    reason="why",
)
CANCEL = replace(
    REFUND,
    kind=StepKind.CANCEL_ORDER,
    action="cancel_order",
    platform="shopify",
    command=CancelOrder(step_key=KEY, key="k", order_id="1", reason="customer", restock=False),
    amount=None,
    payment_id=None,
)
MAIL = replace(
    CANCEL,
    kind=StepKind.NOTIFY,
    action="send_message",
    platform="mailgun",
    command=SendMessage(step_key=KEY, key="k", to="x", template="refund_sent", subject="", text=""),
)

ASK = f"refundflow ask {KEY}"
REPLAY = f'refundflow replay {KEY} --execute --reason "…"'
DISCARD = f'refundflow dead-letters discard {KEY} --execute --reason "…"'


@pytest.mark.parametrize(
    ("_case", "step", "commands"),
    [
        (
            "may have paid: ask, then replay",
            replace(REFUND, code="still_unknown", may_have_happened=True),
            (ASK, REPLAY),
        ),
        (
            "only a person can find out: what was found is said",
            replace(REFUND, code="unknowable", may_have_happened=True),
            (
                ASK,
                REPLAY,
                f'refundflow dead-letters resolve {KEY} --happened --execute --proof "…"',
                f'refundflow dead-letters resolve {KEY} --never --execute --proof "…"',
            ),
        ),
        (
            "paid another amount: never replayed blindly",
            replace(REFUND, code="amount_mismatch", may_have_happened=True),
            (ASK, f"refundflow dead-letters show {KEY}"),
        ),
        ("a definite no", replace(REFUND, code="charge_expired"), (REPLAY, DISCARD)),
        ("gave up", replace(REFUND, code="gave_up:throttled"), ("refundflow connectors check", REPLAY)),
        ("not refundable", replace(REFUND, code="not_refundable"), ("refundflow plan RF-1", REPLAY, DISCARD)),
        (
            "somebody else refunded",
            replace(REFUND, code="refunded_elsewhere"),
            (ASK, "refundflow plan RF-1", DISCARD),
        ),
        (
            "a cancel of unknown end",
            replace(CANCEL, code="unknowable", may_have_happened=True),
            (ASK, REPLAY),
        ),
        (
            "a message of unknown end: leaving it is safer than saying it twice",
            replace(MAIL, code="unknowable", may_have_happened=True),
            (DISCARD, REPLAY),
        ),
        ("a message that would not be true", replace(MAIL, code="template"), (REPLAY, DISCARD)),
        (
            "a human task",
            replace(MAIL, kind=StepKind.HUMAN_TASK, code="human_task"),
            (f'refundflow dead-letters resolve {KEY} --execute --proof "…"',),
        ),
        ("unknown", replace(REFUND, state=StepState.UNKNOWN), (ASK,)),
        ("pending", replace(REFUND, state=StepState.PENDING, reference="re_1"), (ASK,)),
        (
            "held by a worker",
            replace(REFUND, state=StepState.IN_FLIGHT, lease_until=NOW + timedelta(seconds=1)),
            (),
        ),
        (
            "its worker died",
            replace(REFUND, state=StepState.IN_FLIGHT, lease_until=NOW),
            (ASK, "refundflow doctor"),
        ),
        (
            "credentials refused",
            replace(REFUND, state=StepState.RETRY_SCHEDULED, code="unauthorised"),
            ("refundflow connectors check",),
        ),
        ("tried again by itself", replace(REFUND, state=StepState.RETRY_SCHEDULED, code="throttled"), ()),
    ],
)
def test_the_next_command_is_the_safe_one(_case: str, step: Step, commands: tuple[str, ...]) -> None:
    advice = advise(step, NOW)

    assert advice is not None
    assert advice.commands == commands


@pytest.mark.parametrize(
    "state", [StepState.PLANNED, StepState.SUCCEEDED, StepState.SKIPPED, StepState.REVERSED]
)
def test_a_step_that_needs_nobody_gets_no_advice(state: StepState) -> None:
    assert advise(replace(REFUND, state=state), NOW) is None


@pytest.mark.parametrize("state", list(StepState))
@pytest.mark.parametrize("may", [True, False])
def test_a_refund_that_may_have_paid_is_never_called_certain(state: StepState, may: bool) -> None:
    step = replace(REFUND, state=state, code="still_unknown", may_have_happened=may, lease_until=NOW)
    advice = advise(step, NOW)

    if advice is not None and may:
        assert advice.uncertain != "nothing"


def test_only_a_held_case_and_a_case_without_steps_need_a_word_about_the_whole() -> None:
    assert {s: len(advise_case("RF-1", s, has_steps=True)) for s in CaseState} == {
        CaseState.RUNNING: 0,
        CaseState.HELD: 3,
        CaseState.ATTENTION: 0,
        CaseState.COMPLETE: 0,
        CaseState.DECLINED: 0,
        CaseState.NOTHING_TO_DO: 0,
    }
    assert advise_case("RF-1", CaseState.ATTENTION, has_steps=False) == (
        "refundflow plan RF-1",
        'refundflow case replan RF-1 --reason "…"',
    )
