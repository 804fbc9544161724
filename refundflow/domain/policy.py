"""Policy: what the facts of a case make of a request. Pure, so that `why` can compute an old decision again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from refundflow.domain.facts import (
    DisputeState,
    Facts,
    LineQuantity,
    OrderFacts,
    PaymentFacts,
    PaymentState,
)
from refundflow.domain.money import Money, allocate


@dataclass(frozen=True, slots=True)
class Policy:
    """A shop's rules. Amounts in minor units per currency; days and hours as named.

    `auto_approve_limit`: the largest sum that goes back without a person, by currency (a currency that is not listed
    always waits for a person); `window_h`: how long after the order a customer's request is approved by itself;
    `hold_emails`, `hold_reasons`: whoever or whatever always waits for a person; `on_partly_fulfilled` and
    `on_fulfilled`: "cancel_unfulfilled" | "hold" | "decline"; `on_warning`: what an early warning of a dispute does;
    `return_window_days`: how long a shipped order may come back.
    """

    version: str = "1"
    auto_approve_limit: tuple[tuple[str, int], ...] = (("EUR", 50_000), ("USD", 50_000), ("GBP", 50_000))
    window_h: float = 24 * 30
    hold_emails: tuple[str, ...] = ()
    hold_reasons: tuple[str, ...] = ("fraud",)
    on_partly_fulfilled: str = "cancel_unfulfilled"
    on_fulfilled: str = "hold"
    return_window_days: int = 30
    on_warning: str = "hold"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What all sources of a case together ask for. `lines` empty: the whole order. `sources`: who asked, in order.

    `is_verified`: at least one source could be verified; `is_dispute`: a payment dispute is among the sources;
    `is_record_only`: the sources only report (a refund made elsewhere), nobody asked for anything.
    """

    lines: tuple[LineQuantity, ...] = ()
    reason: str = "customer"
    is_verified: bool = True
    is_dispute: bool = False
    is_record_only: bool = False

    def joined(self, other: Wanted) -> Wanted:
        """Both requests as one: the whole order beats lines, more units of a line beat fewer."""
        if self.is_record_only:
            lines = other.lines
        elif other.is_record_only:
            lines = self.lines
        elif not self.lines or not other.lines:
            lines = ()
        else:
            most: dict[str, int] = {}
            for line in (*self.lines, *other.lines):
                most[line.line_id] = max(line.quantity, most.get(line.line_id, 0))
            lines = tuple(LineQuantity(line_id, quantity) for line_id, quantity in most.items())
        return Wanted(
            lines=lines,
            reason=other.reason if self.is_record_only else self.reason,
            is_verified=self.is_verified or other.is_verified,
            is_dispute=self.is_dispute or other.is_dispute,
            is_record_only=self.is_record_only and other.is_record_only,
        )


class Verdict(StrEnum):
    APPROVE = "approve"
    HOLD = "hold"
    DECLINE = "decline"
    NOTHING_TO_DO = "nothing_to_do"


@dataclass(frozen=True, slots=True)
class PaymentShare:
    """How much of one payment goes back. `is_void`: it was never captured, so it is released, not refunded."""

    platform: str
    reference: str
    gateway: str
    amount: Money
    is_void: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy made of the facts. `path`: the rules that were asked, in order, and what each said.

    `lines` empty with `is_whole`: the whole order; `amount`: what goes back in all; `shares`: from which payments.
    """

    verdict: Verdict
    reason: str
    path: tuple[str, ...]
    policy_version: str
    is_whole: bool = True
    lines: tuple[LineQuantity, ...] = ()
    is_return: bool = False
    amount: Money | None = None
    shares: tuple[PaymentShare, ...] = ()


def decide_case(facts: Facts, wanted: Wanted, policy: Policy, *, approved_by: str = "") -> Decision:
    """Approve, hold, decline, or nothing to do; and how much of which payment.

    Rules are asked in one stated order, the first that answers decides; `approved_by` lets a person's word stand in for
    every *hold*, never for a decline by fact (nothing left to give back, a dispute that already took the money).
    """
    path: list[str] = []
    order = facts.order

    def decided(verdict: Verdict, reason: str, **scope: object) -> Decision:
        path.append(f"{verdict.value}: {reason}")
        return Decision(verdict, reason, tuple(path), policy.version, **scope)  # type: ignore[arg-type]  # scope's names are Decision's own

    def held(reason: str, **scope: object) -> Decision | None:
        if approved_by:
            path.append(f"hold waived by {approved_by}: {reason}")
            return None
        return decided(Verdict.HOLD, reason, **scope)

    if wanted.is_record_only:
        return decided(Verdict.NOTHING_TO_DO, "a report of what was done elsewhere; recorded")

    disputed = [p for p in facts.payments if p.dispute in (DisputeState.OPEN, DisputeState.LOST)]
    path.append(f"disputes open or lost: {len(disputed)}")

    scope = _scope(order, wanted)
    path.append(f"scope: {'whole order' if scope.is_whole else f'{len(scope.lines)} lines'}")
    due = _due(facts, scope)
    shares = _shares(facts, due, path)
    amount = Money(sum(s.amount.minor for s in shares), order.currency)
    wide = {
        "is_whole": scope.is_whole,
        "lines": scope.lines,
        "amount": amount,
        "shares": shares,
        "is_return": scope.is_return,
    }

    if disputed:
        stop = held(
            "a dispute is open or lost on this order: the provider already took the money, nothing is refundable on "
            "that payment; cancelling the rest needs a person",
            **wide,
        )
        if stop:
            return stop
    if order.cancelled_at is not None and amount.minor == 0:
        return decided(
            Verdict.NOTHING_TO_DO, "the order is already cancelled and nothing is left to give back", **wide
        )
    if not scope.lines and order.cancelled_at is None and not scope.is_return:
        return decided(Verdict.DECLINE, "none of the wanted units can be cancelled any more", **wide)
    if not wanted.is_verified:
        stop = held("no source of this request could be verified", **wide)
        if stop:
            return stop
    if any(p.dispute is DisputeState.WARNING for p in facts.payments) or wanted.is_dispute:
        path.append(f"early warning or dispute among the sources: {policy.on_warning}")
        if policy.on_warning != "refund":
            stop = held(
                "a dispute or an early warning is among the sources: a person decides who pays", **wide
            )
            if stop:
                return stop
    if order.is_return_open:
        stop = held("a return is in progress at the order platform", **wide)
        if stop:
            return stop
    if scope.is_return:
        age = facts.read_at - order.created_at
        path.append(f"shipped; age {age.days} days, return window {policy.return_window_days} days")
        if age > timedelta(days=policy.return_window_days) and not approved_by:
            return decided(Verdict.DECLINE, "everything was shipped and the return window is over", **wide)
        if policy.on_fulfilled == "decline" and not approved_by:
            return decided(Verdict.DECLINE, "everything was shipped already", **wide)
        stop = held(
            "everything was shipped: return-eligible, a person confirms that the goods are back", **wide
        )
        if stop:
            return stop
    if order.is_partly_fulfilled and not scope.is_return:
        path.append(f"partly fulfilled: {policy.on_partly_fulfilled}")
        if policy.on_partly_fulfilled == "decline" and not approved_by:
            return decided(Verdict.DECLINE, "part of the order was shipped already", **wide)
        if policy.on_partly_fulfilled == "hold":
            stop = held("part of the order was shipped already", **wide)
            if stop:
                return stop
    if wanted.reason in policy.hold_reasons:
        stop = held(f"reason '{wanted.reason}' is on the hold list", **wide)
        if stop:
            return stop
    if order.email and order.email.lower() in policy.hold_emails:
        stop = held("the customer is on the hold list", **wide)
        if stop:
            return stop
    age_h = (facts.read_at - order.created_at).total_seconds() / 3600
    path.append(f"age {age_h:.1f} h, window {policy.window_h:g} h")
    if age_h > policy.window_h:
        stop = held("the order is older than the window for automatic approval", **wide)
        if stop:
            return stop
    limit = dict(policy.auto_approve_limit).get(order.currency)
    path.append(f"amount {amount}, limit {'none' if limit is None else Money(limit, order.currency)}")
    if amount.minor and (limit is None or amount.minor > limit):
        stop = held("the amount is above the limit for automatic approval", **wide)
        if stop:
            return stop
    if due > sum(_refundable(p) for p in facts.payments):
        stop = held("more is wanted than the payments can give back", **wide)
        if stop:
            return stop
    return decided(
        Verdict.APPROVE, "within policy" if not approved_by else f"approved by {approved_by}", **wide
    )


@dataclass(frozen=True, slots=True)
class _Scope:
    is_whole: bool
    lines: tuple[LineQuantity, ...]
    is_return: bool


def _scope(order: OrderFacts, wanted: Wanted) -> _Scope:
    cancellable = {line.line_id: line.quantity for line in order.unfulfilled}
    if not wanted.lines:
        if order.is_fulfilled and order.cancelled_at is None:
            back = tuple(LineQuantity(x.line_id, x.refundable) for x in order.lines if x.refundable > 0)
            return _Scope(False, back, is_return=True)
        untouched = all(line.unfulfilled == line.quantity for line in order.lines)
        return _Scope(untouched, order.unfulfilled, is_return=False)
    lines = tuple(
        LineQuantity(line.line_id, min(line.quantity, cancellable.get(line.line_id, 0)))
        for line in wanted.lines
        if cancellable.get(line.line_id, 0) > 0
    )
    covered = {line.line_id: line.quantity for line in lines}
    # Asking for every unit of every line is asking for the whole order: one cancel, not an order left empty.
    everything = covered == cancellable and all(line.unfulfilled == line.quantity for line in order.lines)
    return _Scope(everything, lines, is_return=False)


def scope_lines(order: OrderFacts, wanted: Wanted) -> tuple[LineQuantity, ...] | None:
    """The lines that need a quote from the order platform, or None where the whole order goes back."""
    scope = _scope(order, wanted)
    return None if scope.is_whole else scope.lines


def _refundable(payment: PaymentFacts) -> int:
    """Minor units that this payment can still give back by us: zero while a dispute is open or lost."""
    if payment.dispute in (DisputeState.OPEN, DisputeState.LOST):
        return 0
    match payment.state:
        case PaymentState.CAPTURED:
            return max(0, payment.captured.minor - payment.refunded)
        case PaymentState.AUTHORISED:
            return payment.authorised.minor
        case _:
            return 0


def _due(facts: Facts, scope: _Scope) -> int:
    """What the customer is owed, in minor units: all that is left for a whole order, the quote for lines."""
    if scope.is_whole or facts.order.cancelled_at is not None:
        return sum(_refundable(p) for p in facts.payments)
    if facts.quote is not None:
        return facts.quote.minor
    return 0


def _shares(facts: Facts, due: int, path: list[str]) -> tuple[PaymentShare, ...]:
    """Spreads what is due over the payments: authorisations are released first (void before capture), only whole, then
    captured payments from the largest captured total downward.
    """
    open_payments = [p for p in facts.payments if _refundable(p) > 0]
    voids = [p for p in open_payments if p.state is PaymentState.AUTHORISED]
    captured = sorted(
        (p for p in open_payments if p.state is PaymentState.CAPTURED),
        key=lambda p: (-p.captured.minor, p.reference),
    )
    shares: list[PaymentShare] = []
    for payment in voids:
        if due >= payment.authorised.minor:
            shares.append(
                PaymentShare(payment.platform, payment.reference, payment.gateway, payment.authorised, True)
            )
            due -= payment.authorised.minor
    capacities = [_refundable(p) for p in captured]
    parts = allocate(min(due, sum(capacities)), capacities)
    for payment, part in zip(captured, parts, strict=True):
        if part:
            shares.append(
                PaymentShare(
                    payment.platform,
                    payment.reference,
                    payment.gateway,
                    Money(part, payment.captured.currency),
                    False,
                )
            )
    path.append(f"due {due}; {len(shares)} payments give back {sum(s.amount.minor for s in shares)}")
    return tuple(shares)
