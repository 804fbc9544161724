"""A step as a rule sees it, what to do with it now, and when to come again. Pure: the clock is passed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from refundflow.domain.commands import AnyCommand
from refundflow.domain.ids import CaseId, PaymentId, StepKey
from refundflow.domain.money import Money
from refundflow.domain.outcomes import NotFound, Outcome, Pending, Permanent, Retryable, Unknown
from refundflow.domain.states import StepState


class StepKind(StrEnum):
    """What a step is about: one Celery task name and one row in the plan each."""

    CANCEL_ORDER = "cancel_order"
    RESTOCK = "restock"
    REFUND = "refund"
    POST_LEDGER = "post_ledger"
    NOTIFY = "notify"
    HUMAN_TASK = "human_task"


class Queue(StrEnum):
    """Queues by risk class; `money` can be braked on its own."""

    INTAKE = "intake"
    ORDERS = "orders"
    MONEY = "money"
    LEDGER = "ledger"
    NOTIFY = "notify"
    DEAD = "dead"


QUEUE_OF: Final = {
    StepKind.CANCEL_ORDER: Queue.ORDERS,
    StepKind.RESTOCK: Queue.ORDERS,
    StepKind.REFUND: Queue.MONEY,
    StepKind.POST_LEDGER: Queue.LEDGER,
    StepKind.NOTIFY: Queue.NOTIFY,
    StepKind.HUMAN_TASK: Queue.ORDERS,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One effect on one platform, as its row stands. Times are aware UTC.

    `action`: the capability that carries it out; `needs`: steps that must have succeeded first; `follows`: steps that
    must have ended, in whatever way; `may_have_happened`: a call went out whose end nobody knows; `sent_at`: the last
    time a call went out; `crashes`: workers that died while holding it; `looks`: looks in a row without an answer.
    """

    step_key: StepKey
    case_id: CaseId
    number: int
    kind: StepKind
    action: str
    platform: str
    command: AnyCommand
    state: StepState
    needs: tuple[StepKey, ...] = ()
    follows: tuple[StepKey, ...] = ()
    uses: tuple[tuple[str, StepKey], ...] = ()
    wave: int = 0
    amount: Money | None = None
    payment_id: PaymentId | None = None
    reference: str = ""
    code: str = ""
    reason: str = ""
    attempts: int = 0
    crashes: int = 0
    looks: int = 0
    key_number: int = 1
    may_have_happened: bool = False
    not_before: datetime | None = None
    due_at: datetime | None = None
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    version: int = 0


class Move(StrEnum):
    """SEND: call the vendor. LOOK: ask what happened. LEAVE: not ours, not now. PARK: it keeps killing its workers."""

    SEND = "send"
    LOOK = "look"
    LEAVE = "leave"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class Pace:
    """When to come again. `short_s`: waits up to this long are Celery retries, longer ones wait in the row;
    `lease_s`: how long a worker may hold a step (longer than its longest call); `max_attempts`: tries that certainly
    did nothing before a person is asked; `max_looks`: looks without an answer before a person is asked; `sweep_grace_s`,
    `settle_grace_s`: how long the sweep leaves a retry, or the settling of a case, to its own message.
    """

    first_s: float = 1.0
    cap_s: float = 900.0
    short_s: float = 45.0
    lease_s: float = 90.0
    look_first_s: float = 5.0
    look_cap_s: float = 3600.0
    max_attempts: int = 12
    max_looks: int = 14
    max_crashes: int = 4
    sweep_grace_s: float = 20.0
    settle_grace_s: float = 10.0


def decide(step: Step, now: datetime, pace: Pace) -> Move:
    """What a worker that was handed this step should do now.

    An expired lease means that a worker died between the claim and the record: look first, never send blindly.
    """
    if step.state is StepState.IN_FLIGHT:
        if step.lease_until is not None and now < step.lease_until:
            return Move.LEAVE
        return Move.PARK if step.crashes + 1 >= pace.max_crashes else Move.LOOK
    if step.not_before is not None and now < step.not_before - timedelta(milliseconds=250):
        return Move.LEAVE
    match step.state:
        case StepState.PLANNED if step.due_at is None:
            return Move.LEAVE  # not released: something it needs is not done yet
        case StepState.PLANNED | StepState.RETRY_SCHEDULED:
            return Move.LOOK if step.may_have_happened else Move.SEND
        case StepState.PENDING | StepState.UNKNOWN:
            return Move.LOOK
        case _:
            return Move.LEAVE


def settle_look(
    found: Outcome | NotFound, step: Step, now: datetime, *, is_natural: bool = False
) -> Outcome | NotFound:
    """Reads a look's answer: an absence that is conclusive proves that nothing happened, so the same key may go again.

    An absence proves nothing while the step is pending (the vendor said it had it), before the vendor's own delay has
    passed since the last send, or where the vendor cannot be looked at. `is_natural`: a second call of this operation
    cannot act twice, so an absence counts even where the vendor had accepted the first one (its job failed).
    """
    match found:
        case NotFound(conclusive_after_s=None, reason=reason):
            return Permanent("unknowable", f"it may have happened, and this vendor cannot be asked: {reason}")
        case NotFound(conclusive_until_s=float() | int() as until) if (
            step.sent_at is not None and now > step.sent_at + timedelta(seconds=until)
        ):
            return Permanent(
                "unknowable", "it may have happened, and the vendor does not keep its records that long"
            )
        case NotFound(conclusive_after_s=float() | int() as delay, reason=reason):
            if (step.reference or step.state is StepState.PENDING) and not is_natural:
                as_ = f" as {step.reference}" if step.reference else ""
                return Unknown(f"the vendor had accepted it{as_} and does not show it now: {reason}")
            if step.sent_at is not None and now < step.sent_at + timedelta(seconds=delay):
                wait_s = (step.sent_at + timedelta(seconds=delay) - now).total_seconds()
                return NotFound(wait_s, reason)
            return Retryable("not_there", f"asked the vendor: {reason}", 0.0)
        case _:
            return found


def next_try_s(step: Step, outcome: Outcome | NotFound, pace: Pace, jitter: float) -> float:
    """Seconds until this step should be tried or looked at again. `jitter`: a random number in [0, 1).

    The vendor's own hint is a floor; without one, exponential backoff with full jitter on its upper half.
    """
    match outcome:
        case Retryable(code="not_there"):
            return 0.0  # the vendor was asked: nothing happened, and nothing speaks against sending now
        case Retryable(after_s=float() | int() as hint) if hint > 0:
            # a little more than asked for, spread out, so that all who were told "2 s" do not come back together
            return hint + (0.2 + hint * 0.1) * jitter
        case Retryable():
            base, cap, tries = pace.first_s, pace.cap_s, step.attempts
        case Pending(after_s=float() | int() as hint) if step.looks == 0:
            return hint
        case NotFound(conclusive_after_s=float() | int() as wait_s):
            # What the vendor did may show before the moment at which its absence would prove something.
            look_s = pace.look_first_s * 2.0 ** min(step.looks, 20) * (0.5 + 0.5 * jitter)
            return min(look_s, wait_s + 0.1, pace.look_cap_s)
        case _:
            base, cap, tries = pace.look_first_s, pace.look_cap_s, step.looks + 1
    raw = min(cap, base * 2.0 ** min(max(tries - 1, 0), 20))
    return raw * (0.5 + 0.5 * jitter)


def limit_tries(step: Step, outcome: Outcome | NotFound, pace: Pace) -> Outcome | NotFound:
    """Hands a step that goes round and round to a person. An Unknown is handed over as *still unknown*: its money stays
    reserved, and a replay asks the vendor first.
    """
    match outcome:
        case Retryable(code=code, reason=reason) if step.attempts >= pace.max_attempts and code != "paced":
            return Permanent(f"gave_up:{code}", f"tried {step.attempts} times; last: {reason}")
        case Unknown(reason=reason) | NotFound(reason=reason) if step.looks >= pace.max_looks:
            return Permanent("still_unknown", f"looked {step.looks} times; last: {reason}")
        case _:
            return outcome


#: What is asked about again after it was done: money that went out, and every paper about it.
SECOND_LOOKS: Final = frozenset({"refund", "record_order_refund", "record_refund", "credit_note"})


def next_look_at(action: str, ended_at: datetime, now: datetime, looks_h: Iterable[float]) -> datetime | None:
    """When a step that was done at `ended_at` is asked about next; None where it never is (again). `looks_h`: hours after it."""
    if action not in SECOND_LOOKS:
        return None
    return min((at for hours in looks_h if (at := ended_at + timedelta(hours=hours)) > now), default=None)


#: Dead-letter codes under which the effect may have happened all the same: money stays reserved.
UNCERTAIN_CODES: Final = frozenset({"still_unknown", "unknowable", "kills_worker", "amount_mismatch"})


#: Of these, the ones that a look cannot settle any more. (Where amounts differ, the vendor has spoken.)
ONLY_A_PERSON_KNOWS: Final = UNCERTAIN_CODES - {"amount_mismatch"}


def is_uncertain(outcome: Permanent) -> bool:
    """Whether a step that ends dead with this outcome may have acted nevertheless."""
    return outcome.code in UNCERTAIN_CODES
