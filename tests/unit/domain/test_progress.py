"""What a customer may be told, from the states of the steps: the most that is true, and never more."""

from __future__ import annotations

from itertools import product

import pytest

from refundflow.domain.commands import CancelOrder, HumanTask, Refund, VoidPayment
from refundflow.domain.facts import LineQuantity
from refundflow.domain.ids import CaseId, StepKey
from refundflow.domain.money import Money
from refundflow.domain.progress import Mark, progress_of
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Step, StepKind

CASE = CaseId("RF-00K3ZQ4M7ABCDEF")
EUR = Money(4250, "EUR")


def a_step(
    kind: StepKind, action: str, state: StepState, amount: Money | None = None, number: int = 1
) -> Step:
    key = StepKey(f"{CASE}.{kind.value}.{number}")
    command = {
        "cancel_order": CancelOrder(step_key=key, key=key, order_id="1", reason="customer", restock=False),
        "refund": Refund(
            step_key=key,
            key=key,
            order_id="1",
            order_number="#1",
            payment_reference="pi",
            gateway="stripe",
            amount=amount or EUR,
        ),
        "void_payment": VoidPayment(step_key=key, key=key, order_id="1", payment_reference="pi", amount=EUR),
        "human_task": HumanTask(step_key=key, key=key, text="do it", lines=(LineQuantity("1", 1),)),
    }[action]
    return Step(key, CASE, number, kind, action, "stripe", command, state, amount=amount)


def cancel(state: StepState) -> Step:
    return a_step(StepKind.CANCEL_ORDER, "cancel_order", state)


def refund(state: StepState, number: int = 1) -> Step:
    return a_step(StepKind.REFUND, "refund", state, EUR, number)


@pytest.mark.parametrize(
    ("_case", "steps", "headline"),
    [
        ("nothing planned yet", (), "We are cancelling your order"),
        (
            "on its way",
            (cancel(StepState.IN_FLIGHT), refund(StepState.PLANNED)),
            "We are cancelling your order",
        ),
        (
            "cancelled, the money waits",
            (cancel(StepState.SUCCEEDED), refund(StepState.PENDING)),
            "Your order is cancelled, and your money is on its way",
        ),
        ("all sent", (cancel(StepState.SUCCEEDED), refund(StepState.SUCCEEDED)), "Refunded: 42.50 EUR"),
        (
            "one of two sent",
            (cancel(StepState.SUCCEEDED), refund(StepState.SUCCEEDED), refund(StepState.UNKNOWN, 2)),
            "Your order is cancelled, and your money is on its way",
        ),
        (
            "both sent",
            (cancel(StepState.SUCCEEDED), refund(StepState.SUCCEEDED), refund(StepState.SUCCEEDED, 2)),
            "Refunded: 85.00 EUR",
        ),
        (
            "it came back",
            (cancel(StepState.SUCCEEDED), refund(StepState.REVERSED)),
            "Somebody of the shop is taking care of this",
        ),
        (
            "refused for good",
            (cancel(StepState.SUCCEEDED), refund(StepState.DEAD_LETTERED)),
            "Somebody of the shop is taking care of this",
        ),
        ("nothing was charged", (cancel(StepState.SUCCEEDED),), "Your order is cancelled"),
        (
            "a person cancels",
            (a_step(StepKind.HUMAN_TASK, "human_task", StepState.DEAD_LETTERED),),
            "Somebody of the shop is taking care of this",
        ),
    ],
)
def test_the_headline_is_the_most_that_is_true(_case: str, steps: tuple[Step, ...], headline: str) -> None:
    assert progress_of(CaseState.RUNNING, steps).headline == headline


@pytest.mark.parametrize(("first", "second"), list(product(StepState, StepState)))
def test_refunded_is_said_of_no_two_refunds_but_those_that_both_went_out(
    first: StepState, second: StepState
) -> None:
    told = progress_of(CaseState.RUNNING, (cancel(StepState.SUCCEEDED), refund(first), refund(second, 2)))
    went_out = {first, second} - {StepState.SKIPPED} == {StepState.SUCCEEDED}
    assert told.headline.startswith("Refunded") is went_out
    words = " ".join(stage.text for stage in told.stages).lower()
    assert "refunded" not in words


@pytest.mark.parametrize(
    ("state", "headline", "is_final"),
    [
        (CaseState.HELD, "Your request is being looked at", False),
        (CaseState.DECLINED, "Your order was not cancelled", True),
        (CaseState.NOTHING_TO_DO, "There is nothing left to cancel", True),
    ],
)
def test_a_case_that_carries_nothing_out_says_so(state: CaseState, headline: str, is_final: bool) -> None:
    told = progress_of(state, ())
    assert (told.headline, told.is_final) == (headline, is_final)


def test_a_released_authorisation_is_not_called_a_refund() -> None:
    void = a_step(StepKind.REFUND, "void_payment", StepState.SUCCEEDED, EUR)
    told = progress_of(CaseState.COMPLETE, (cancel(StepState.SUCCEEDED), void))
    assert told.headline == "Your order is cancelled"
    assert told.stages[-1].text == "Your card was not charged; what was set aside on it has been released."
    assert {stage.mark for stage in told.stages} == {Mark.DONE}
    assert told.is_final
