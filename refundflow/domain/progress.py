"""What a customer may be told of a cancellation, from the states of its steps. Pure; the one place that knows these words.

The word "refunded" is said only when every refund of the case has succeeded and none came back (rule 8 of the rules of money).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from refundflow.domain.money import Money
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Step, StepKind


class Mark(StrEnum):
    """How a stage stands: DONE, NOW (being worked at), LATER, or TROUBLE (a person of the shop looks after it)."""

    DONE = "done"
    NOW = "now"
    LATER = "later"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the page: `text` is a whole sentence."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`headline`: the most that is true; `is_final`: nothing more will happen by itself, so the page need not look again."""

    headline: str
    stages: tuple[Stage, ...]
    is_final: bool = False


def progress_of(
    case_state: CaseState, steps: Iterable[Step], *, is_partial: bool = False, refund_days: int = 10
) -> Progress:
    """The page about one case. `refund_days`: business days until a bank usually shows money that was sent."""
    steps = tuple(steps)
    stages: tuple[Stage, ...]
    asked = Stage(Mark.DONE, "We have your request.")
    match case_state:
        case CaseState.HELD:
            stages = (
                asked,
                Stage(Mark.NOW, "Somebody of the shop is looking at it. Nothing has been cancelled yet."),
            )
            return Progress("Your request is being looked at", stages)
        case CaseState.DECLINED:
            stages = (
                asked,
                Stage(Mark.TROUBLE, "It could not be done. The shop has written to you about why."),
            )
            return Progress("Your order was not cancelled", stages, is_final=True)
        case CaseState.NOTHING_TO_DO:
            return Progress("There is nothing left to cancel", (asked,), is_final=True)
        case _:
            pass
    what = "part of your order" if is_partial else "your order"
    cancel, money = _cancel_stage(steps, what), tuple(_money_stages(steps, refund_days))
    stages = (asked, cancel, *money)
    is_final = all(stage.mark in (Mark.DONE, Mark.TROUBLE) for stage in stages)
    return Progress(_headline(steps, cancel, what), stages, is_final)


def _headline(steps: Sequence[Step], cancel: Stage, what: str) -> str:
    sent = _all_sent(steps)
    if sent is not None:
        return f"Refunded: {sent}"
    if any(stage.mark is Mark.TROUBLE for stage in (cancel, *_money_stages(steps, 0))):
        return "Somebody of the shop is taking care of this"
    if cancel.mark is not Mark.DONE:
        return "We are cancelling " + what
    if any(s.kind is StepKind.REFUND and s.action == "refund" for s in steps):
        return f"{what.capitalize()} is cancelled, and your money is on its way"
    return f"{what.capitalize()} is cancelled"


def _all_sent(steps: Sequence[Step]) -> str | None:
    """What was sent in all, where every refund of the case went out and none is still owed; None otherwise."""
    refunds = [s for s in steps if s.action == "refund" and s.state is not StepState.SKIPPED and s.amount]
    owed = [s for s in steps if s.action == "human_task" and s.amount and s.state not in _OVER]
    if not refunds or owed or any(s.state is not StepState.SUCCEEDED for s in refunds):
        return None
    sums: dict[str, int] = {}
    for step in refunds:
        assert step.amount is not None, "filtered above"
        sums[step.amount.currency] = sums.get(step.amount.currency, 0) + step.amount.minor
    return " and ".join(str(Money(minor, currency)) for currency, minor in sums.items())


_OVER = (StepState.SUCCEEDED, StepState.SKIPPED)
_CANCELS = ("cancel_order", "cancel_lines")


def _cancel_stage(steps: Sequence[Step], what: str) -> Stage:
    states = [s.state for s in steps if s.action in _CANCELS or _is_cancel_task(s)]
    if not states:
        return Stage(Mark.NOW, f"We are working on {what}.")
    if StepState.DEAD_LETTERED in states:
        return Stage(Mark.TROUBLE, f"Somebody of the shop is looking after the cancellation of {what}.")
    if all(state in _OVER for state in states):
        return Stage(Mark.DONE, f"{what.capitalize()} is cancelled.")
    return Stage(Mark.NOW, f"We are cancelling {what}.")


def _is_cancel_task(step: Step) -> bool:
    return step.action == "human_task" and bool(getattr(step.command, "lines", ()))


def _money_stages(steps: Sequence[Step], refund_days: int) -> Iterable[Stage]:
    for step in steps:
        if step.action == "refund" and step.amount is not None:
            if stage := _refund_stage(step, step.amount, refund_days):
                yield stage
        elif step.action == "void_payment" and step.state is StepState.SUCCEEDED:
            yield Stage(Mark.DONE, "Your card was not charged; what was set aside on it has been released.")
        elif step.action == "human_task" and step.amount and step.state not in _OVER:
            yield Stage(Mark.TROUBLE, f"{step.amount}: somebody of the shop is arranging how you get it.")


def _refund_stage(step: Step, amount: Money, refund_days: int) -> Stage | None:
    match step.state:
        case StepState.SKIPPED:
            return None
        case StepState.SUCCEEDED:
            return Stage(
                Mark.DONE,
                f"{amount} was sent to the payment method you used. Banks show it within about {refund_days} business days.",
            )
        case StepState.REVERSED:
            return Stage(
                Mark.TROUBLE,
                f"{amount} was sent and came back to us. You do not have it yet; somebody of the shop is looking for another way.",
            )
        case StepState.DEAD_LETTERED:
            return Stage(
                Mark.TROUBLE, f"{amount}: somebody of the shop is looking after it. It is not sent yet."
            )
        case StepState.PLANNED:
            return Stage(Mark.LATER, f"{amount} will be sent back to you.")
        case _:
            return Stage(Mark.NOW, f"{amount} is being sent back to you.")
