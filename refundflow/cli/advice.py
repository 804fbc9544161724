"""What a person may believe about a step that waits, failed or is uncertain, and the exact next command. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from refundflow.cli.show import when
from refundflow.domain.commands import SendMessage
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Step, StepKind

_NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Advice:
    """`certain` and `uncertain`: one sentence each; `commands`: what is safe to type next, in order (none: just wait)."""

    step_key: str
    certain: str
    uncertain: str
    commands: tuple[str, ...]


def advise(step: Step, now: datetime) -> Advice | None:
    """Advice on a step that is dead, uncertain or waiting; None for one that ended well, or has not begun."""
    match step.state:
        case StepState.DEAD_LETTERED:
            return _dead(step)
        case StepState.UNKNOWN:
            return Advice(
                step.step_key,
                f"{_sent(step)}; nothing is sent again before {step.platform} says what happened, "
                f"and it is asked again {_next(step)}",
                f"whether {_effect(step)} happened: {step.reason or 'no answer came'}",
                (_ask(step),),
            )
        case StepState.PENDING:
            return Advice(
                step.step_key,
                f"{step.platform} accepted it as {step.reference or '(no reference)'}; it is not sent again, "
                f"and {step.platform} is asked {_next(step)}",
                f"whether {_effect(step)} will come through in the end",
                (_ask(step),),
            )
        case StepState.IN_FLIGHT if step.lease_until is not None and step.lease_until <= now:
            return Advice(
                step.step_key,
                f"its worker is gone (its hold ran out {when(step.lease_until)}); the next one asks {step.platform} "
                "before it sends",
                f"whether {_effect(step)} happened before the worker died",
                (_ask(step), "refundflow doctor"),
            )
        case StepState.IN_FLIGHT:
            return Advice(
                step.step_key,
                f"a worker holds it until {when(step.lease_until)}; nobody else sends it meanwhile",
                f"whether {_effect(step)} has happened yet",
                (),
            )
        case StepState.RETRY_SCHEDULED if step.code == "unauthorised":
            return Advice(
                step.step_key,
                f"{step.platform} refuses our credentials, so {_effect(step)} certainly did not happen: {step.reason}",
                _NOTHING,
                ("refundflow connectors check",),
            )
        case StepState.RETRY_SCHEDULED if step.may_have_happened:
            return Advice(
                step.step_key,
                f"{step.platform} is asked {_next(step)}, before anything is sent",
                f"whether {_effect(step)} happened",
                (_ask(step),),
            )
        case StepState.RETRY_SCHEDULED:
            return Advice(
                step.step_key,
                f"{_effect(step)} did not happen ({step.code or 'no code'}: {step.reason}); it is tried again {_next(step)}",
                _NOTHING,
                (),
            )
        case _:
            return None


def _dead(step: Step) -> Advice:
    replay = f'refundflow replay {step.step_key} --execute --reason "…"'
    discard = f'refundflow dead-letters discard {step.step_key} --execute --reason "…"'
    if step.kind is StepKind.HUMAN_TASK:
        return Advice(
            step.step_key,
            "a person must do this; nothing is sent by itself",
            "whether somebody has done it already",
            (f'refundflow dead-letters resolve {step.step_key} --execute --proof "…"',),
        )
    if step.may_have_happened:
        return _dead_uncertain(step, replay, discard)
    why = f"{step.code or 'no code'}: {step.reason or 'no reason was given'}"
    match step.code:
        case "not_refundable":
            return Advice(
                step.step_key,
                f"nothing was sent: {step.reason}",
                _NOTHING,
                (f"refundflow plan {step.case_id}", replay, discard),
            )
        case "refunded_elsewhere":
            return Advice(
                step.step_key,
                f"nothing was sent by us: {step.reason}",
                f"whether the refund made elsewhere is the whole {step.amount}",
                (_ask(step), f"refundflow plan {step.case_id}", discard),
            )
        case "template":
            return Advice(step.step_key, f"nothing was sent: {step.reason}", _NOTHING, (replay, discard))
        case code if code.startswith("gave_up"):
            return Advice(
                step.step_key,
                f"{_effect(step)} did not happen, and it is not tried again by itself ({why})",
                _NOTHING,
                ("refundflow connectors check", replay),
            )
        case _:
            return Advice(
                step.step_key,
                f"{step.platform} said no, so {_effect(step)} did not happen ({why})",
                _NOTHING,
                (replay, discard),
            )


def _dead_uncertain(step: Step, replay: str, discard: str) -> Advice:
    why = f"{step.code or 'no code'}: {step.reason or 'no reason was given'}"
    if isinstance(step.command, SendMessage):
        return Advice(
            step.step_key,
            f"it is not sent again by itself ({why})",
            "whether the message arrived",
            (discard, replay),
        )
    if step.kind is not StepKind.REFUND:
        return Advice(
            step.step_key,
            f"it is not sent again by itself ({why})",
            f"whether {_effect(step)} happened",
            (_ask(step), replay),
        )
    held = f"{step.amount} stays reserved on {step.payment_id}, and nothing is paid by itself ({why})"
    if step.code == "amount_mismatch":
        return Advice(
            step.step_key,
            held,
            "how much the payer really gave back",
            (_ask(step), f"refundflow dead-letters show {step.step_key}"),
        )
    found = f'refundflow dead-letters resolve {step.step_key} --happened --execute --proof "…"'
    by_hand = (found, found.replace("--happened", "--never")) if step.code == "unknowable" else ()
    return Advice(
        step.step_key, held, f"whether {step.platform} gave the money back", (_ask(step), replay, *by_hand)
    )


def advise_case(case_id: str, state: CaseState, *, has_steps: bool) -> tuple[str, ...]:
    """What may be done about the case as a whole: the exact commands, none where it needs nobody."""
    match state:
        case CaseState.HELD:
            return (
                f"refundflow plan {case_id}",
                f'refundflow case approve {case_id} --reason "…"',
                f'refundflow case decline {case_id} --reason "…"',
            )
        case CaseState.ATTENTION if not has_steps:
            return (f"refundflow plan {case_id}", f'refundflow case replan {case_id} --reason "…"')
        case _:
            return ()


def _effect(step: Step) -> str:
    """The effect as the subject of a sentence: `the refund of 42.50 EUR at stripe`."""
    what = "message" if isinstance(step.command, SendMessage) else step.action.replace("_", " ")
    amount = f" of {step.amount}" if step.amount else ""
    return f"the {what}{amount} at {step.platform}"


def _sent(step: Step) -> str:
    return f"a call went out {when(step.sent_at)}" if step.sent_at else "a call may have gone out"


def _next(step: Step) -> str:
    moment = step.not_before or step.due_at
    return f"after {when(moment)}" if moment else "by the next sweep"


def _ask(step: Step) -> str:
    return f"refundflow ask {step.step_key}"
