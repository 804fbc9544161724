"""Policy: what the facts of a case make of a request. Pure, so that `why` can compute an old decision again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from refundflow.domain.facts import (
    DisputeState,
    Facts,
    LineQuantity,
    OrderFacts,
    PaymentFacts,
    PaymentState,
    TakesBack,
    Tender,
)
from refundflow.domain.money import Money, allocate


@dataclass(frozen=True, slots=True)
class Policy:
    """A shop's rules. Amounts in minor units per currency; days and hours as named.

    `auto_approve_limit`: the largest sum that goes back without a person, by currency (a currency that is not listed
    always waits for a person); `window_h`: how long after the order a customer's request is approved by itself;
    `hold_emails`, `hold_reasons`: whoever or whatever always waits for a person; `on_partly_fulfilled` and
    `on_fulfilled`: "cancel_unfulfilled" | "hold" | "decline"; `on_warning`: what an early warning of a dispute does;
    `return_window_days`: how long a shipped order may come back; `tender_order`: from which means of payment money goes back
    first; `on_unrefundable`: where the money goes that a payment cannot give back any more (its window is over, it gives back
    all or nothing, its payer refuses): "other_tender" of the same order as far as there is one, else a person; "store_credit"
    or "person": a task for a person, to issue a credit or to pay by another way; `task_days`: by when people do their tasks.
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
    tender_order: tuple[str, ...] = (Tender.CARD.value, Tender.STORE_CREDIT.value, Tender.GIFT_CARD.value)
    on_unrefundable: str = "other_tender"
    task_days: int = 3


@dataclass(frozen=True, slots=True)
class MoneyUnderway:
    """Minor units of one payment that a step of this case gives back. `platform`, `reference`: the payment's."""

    platform: str
    reference: str
    minor: int
    step_key: str


@dataclass(frozen=True, slots=True)
class Underway:
    """What this case did or is doing already, so that planning again adds only what is new.

    `taken`: units that its steps take out of the order, by line; `pending`: of these, the ones that the facts do not show
    yet; `money`: refunds on their way or done; `failed`: refunds that came back and were not replaced; `is_returning`: the
    units of a shipped order are being taken back already.
    """

    taken: tuple[LineQuantity, ...] = ()
    pending: tuple[LineQuantity, ...] = ()
    money: tuple[MoneyUnderway, ...] = ()
    failed: tuple[MoneyUnderway, ...] = ()
    is_returning: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What all sources of a case together ask for. `lines` empty: the whole order. `sources`: who asked, in order.

    `is_verified`: at least one source could be verified; `is_dispute`: a payment dispute is among the sources;
    `is_record_only`: the sources only report (a refund made elsewhere), nobody asked for anything; `underway`: what the
    case does already, filled in for each decision.
    """

    lines: tuple[LineQuantity, ...] = ()
    reason: str = "customer"
    is_verified: bool = True
    is_dispute: bool = False
    is_record_only: bool = False
    underway: Underway = Underway()

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
            is_verified=self._vouches_for(lines)
            or other._vouches_for(lines)
            or (self.is_verified and other.is_verified),
            is_dispute=self.is_dispute or other.is_dispute,
            is_record_only=self.is_record_only and other.is_record_only,
            underway=self.underway,
        )

    def _vouches_for(self, lines: tuple[LineQuantity, ...]) -> bool:
        """Whether this request alone, being verified, asks for all of that."""
        return self.is_verified and not self.is_record_only and (not self.lines or self.lines == lines)


class Verdict(StrEnum):
    APPROVE = "approve"
    HOLD = "hold"
    DECLINE = "decline"
    NOTHING_TO_DO = "nothing_to_do"


@dataclass(frozen=True, slots=True)
class PaymentShare:
    """How much of one payment goes back. `is_void`: it was never captured, so it is released, not refunded; `replaces`:
    the step of an earlier refund that came back; `obstacle`: why this payment's payer cannot do it, then a person does, as
    `fallback` says ("store_credit" | "person").
    """

    platform: str
    reference: str
    gateway: str
    amount: Money
    is_void: bool
    replaces: str = ""
    obstacle: str = ""
    fallback: str = ""


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
    task_due: str = ""


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
    capacities = {
        (p.platform, p.reference): _capacity(p, order.currency, wanted.underway) for p in facts.payments
    }
    due = _due(facts, scope, capacities)
    shares = _shares(facts, due, capacities, () if scope.is_whole else wanted.underway.failed, policy, path)
    amount = Money(sum(s.amount.minor for s in shares), order.currency)
    wide = {
        "is_whole": scope.is_whole,
        "lines": scope.lines,
        "amount": amount,
        "shares": shares,
        "is_return": scope.is_return,
        "task_due": (facts.read_at + timedelta(days=policy.task_days)).date().isoformat(),
    }

    if disputed:
        stop = held(
            "a dispute is open or lost on this order: the provider already took the money, nothing is refundable on "
            "that payment; cancelling the rest needs a person",
            **wide,
        )
        if stop:
            return stop
    orphans = [m for m in facts.mirrors if is_orphan(facts, m)]
    if orphans:
        path.append(f"cancelled, and still held by {', '.join(m.platform for m in orphans)}")
    if order.cancelled_at is not None and amount.minor == 0 and (not orphans or wanted.underway.taken):
        return decided(
            Verdict.NOTHING_TO_DO, "the order is already cancelled and nothing is left to give back", **wide
        )
    is_begun = wanted.underway.is_returning if scope.is_return else bool(wanted.underway.taken)
    if not scope.lines and amount.minor == 0 and is_begun:
        return decided(Verdict.NOTHING_TO_DO, "all that was asked for is under way or done", **wide)
    if not scope.lines and amount.minor == 0 and order.cancelled_at is None and not scope.is_return:
        return decided(Verdict.DECLINE, "none of the wanted units can be cancelled any more", **wide)
    if any(p.captured.currency != order.currency for p in facts.payments):
        stop = held("a payment is in another currency than the order: its part is given back by hand", **wide)
        if stop:
            return stop
    if scope.lines and not scope.is_whole and order.cancelled_at is None and not _is_quoted(facts, scope):
        stop = held("the order platform did not say what these units are worth", **wide)
        if stop:
            return stop
    if not order.knows_payments:
        stop = held(
            f"{order.platform} does not know how the order was paid: a person gives the money back", **wide
        )
        if stop:
            return stop
    for refusal in _cancel_refusals(facts, scope):
        stop = held(refusal, **wide)
        if stop:
            return stop
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
    if due > sum(capacities.values()):
        stop = held("more is wanted than the payments can give back", **wide)
        if stop:
            return stop
    return decided(
        Verdict.APPROVE, "within policy" if not approved_by else f"approved by {approved_by}", **wide
    )


def is_orphan(facts: Facts, mirror: OrderFacts) -> bool:
    """Whether an order that was cancelled where it lives goes on in a system that mirrors it, and that system can let it go whole."""
    return (
        facts.order.cancelled_at is not None
        and mirror.cancelled_at is None
        and mirror.cancels is TakesBack.CALL
        and not mirror.cancel_refusal
        and all(line.unfulfilled == line.quantity for line in mirror.lines)
    )


def _cancel_refusals(facts: Facts, scope: _Scope) -> list[str]:
    """What the systems that hold the order would refuse, as they say themselves: known before anything is touched, so that
    no order is cancelled in one and goes on in another.
    """
    if scope.is_return or not scope.lines:
        return []
    told = []
    for order in (facts.order, *facts.mirrors):
        if order.cancelled_at is not None:
            continue
        if order.cancel_refusal:
            told.append(f"{order.platform} would not cancel order {order.number} now: {order.cancel_refusal}")
        elif order is not facts.order and any(line.quantity > line.unfulfilled for line in order.lines):
            told.append(f"{order.platform} says that units of order {order.number} have left already")
    return told


@dataclass(frozen=True, slots=True)
class _Scope:
    is_whole: bool
    lines: tuple[LineQuantity, ...]
    is_return: bool


def _scope(order: OrderFacts, wanted: Wanted) -> _Scope:
    """The units that are new: asked for, still cancellable, and not taken by a step of this case already."""
    pending = _by_line(wanted.underway.pending)
    cancellable = {
        line.line_id: line.quantity - pending.get(line.line_id, 0)
        for line in order.unfulfilled
        if line.quantity > pending.get(line.line_id, 0)
    }
    untouched = all(line.unfulfilled == line.quantity for line in order.lines)
    if not wanted.lines:
        if order.is_fulfilled and order.cancelled_at is None:
            if wanted.underway.is_returning:
                return _Scope(False, (), is_return=True)
            back = tuple(LineQuantity(x.line_id, x.refundable) for x in order.lines if x.refundable > 0)
            return _Scope(False, back, is_return=True)
        return _Scope(untouched, _as_lines(cancellable), is_return=False)
    taken = _by_line(wanted.underway.taken)
    asked = {
        line_id: quantity - taken.get(line_id, 0)
        for line_id, quantity in _by_line(wanted.lines, largest=True).items()
    }
    covered = {
        line_id: min(quantity, cancellable[line_id])
        for line_id, quantity in asked.items()
        if quantity > 0 and line_id in cancellable
    }
    # Asking for every unit of every line is asking for the whole order: one cancel, not an order left empty.
    everything = bool(covered) and covered == cancellable and untouched and not wanted.underway.taken
    return _Scope(everything, _as_lines(covered), is_return=False)


def _by_line(lines: tuple[LineQuantity, ...], *, largest: bool = False) -> dict[str, int]:
    """Units by line: summed, or the largest number where one line is named more than once in one request."""
    units: dict[str, int] = {}
    for line in lines:
        before = units.get(line.line_id, 0)
        units[line.line_id] = max(before, line.quantity) if largest else before + line.quantity
    return units


def _as_lines(units: dict[str, int]) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line_id, quantity) for line_id, quantity in units.items())


def scope_lines(order: OrderFacts, wanted: Wanted) -> tuple[LineQuantity, ...] | None:
    """The lines that need a quote from the order platform, or None where the whole order goes back."""
    scope = _scope(order, wanted)
    return None if scope.is_whole else scope.lines


def _is_quoted(facts: Facts, scope: _Scope) -> bool:
    return facts.quote is not None and (not facts.quoted or facts.quoted == scope.lines)


def _capacity(payment: PaymentFacts, currency: str, underway: Underway) -> int:
    """Minor units that this payment can still give back by us: what the payer shows as refundable, less what steps of
    this case are about to give back and the payer does not show yet. Zero while a dispute is open or lost.
    """
    if payment.dispute in (DisputeState.OPEN, DisputeState.LOST) or payment.captured.currency != currency:
        return 0
    shown = {refund.step_key for refund in payment.refunds if refund.step_key}
    on_its_way = sum(
        m.minor
        for m in underway.money
        if m.reference == payment.reference
        and m.platform in ("", payment.platform)  # a person's task about it stands under no payer
        and m.step_key not in shown
    )
    match payment.state:
        case PaymentState.CAPTURED:
            return max(0, payment.captured.minor - payment.refunded - on_its_way)
        case PaymentState.AUTHORISED:
            return payment.authorised.minor if on_its_way == 0 else 0
        case _:
            return 0


def _due(facts: Facts, scope: _Scope, capacities: dict[tuple[str, str], int]) -> int:
    """What the customer is owed beside what is under way, in minor units: all that is left for a whole order, the quote
    for lines.
    """
    if scope.is_whole or facts.order.cancelled_at is not None:
        return sum(capacities.values())
    if facts.quote is not None and scope.lines:
        return facts.quote.minor
    return 0


def _shares(
    facts: Facts,
    due: int,
    capacities: dict[tuple[str, str], int],
    failed: tuple[MoneyUnderway, ...],
    policy: Policy,
    path: list[str],
) -> tuple[PaymentShare, ...]:
    """Spreads what is due over the payments: refunds that came back are given again on their own payment; then
    authorisations are released (void before capture), only whole; then captured payments by means of payment in the policy's
    order, and among these from the largest captured total downward. What a payment cannot give back is named, and goes
    where the policy says.
    """
    left = dict(capacities)
    shares: list[PaymentShare] = []
    by_key = {(p.platform, p.reference): p for p in facts.payments}
    for money in failed:
        key = (money.platform, money.reference)
        again = min(money.minor, left.get(key, 0))
        if again > 0 and key in by_key:
            left[key] -= again
            shares.append(_share(by_key[key], again, replaces=money.step_key))
    open_payments = [p for key, p in by_key.items() if left[key] > 0]
    for payment in open_payments:
        if payment.state is PaymentState.AUTHORISED and due >= payment.authorised.minor:
            shares.append(_share(payment, payment.authorised.minor, is_void=True))
            due -= payment.authorised.minor
    captured = sorted(
        (p for p in open_payments if p.state is PaymentState.CAPTURED),
        key=lambda p: _turn(p, policy, facts.read_at),
    )
    rooms = [left[(p.platform, p.reference)] for p in captured]
    parts = allocate(min(due, sum(rooms)), rooms)
    for payment, room, part in zip(captured, rooms, parts, strict=True):
        if part:
            obstacle = _obstacle(payment, facts.read_at) or _obstacle_to_part(payment, part, room)
            shares.append(_share(payment, part, obstacle=obstacle, policy=policy))
    path.append(f"due {due}; {len(shares)} payments give back {sum(s.amount.minor for s in shares)}")
    path += [f"{s.amount} of {s.reference} not by its payer: {s.obstacle}" for s in shares if s.obstacle]
    return tuple(shares)


def _turn(payment: PaymentFacts, policy: Policy, now: datetime) -> tuple[bool, int, int, str]:
    """When a captured payment's turn comes in giving back."""
    rank = {tender: index for index, tender in enumerate(policy.tender_order)}
    comes_last = policy.on_unrefundable == "other_tender" and bool(_obstacle(payment, now))
    return (
        comes_last,
        rank.get(payment.tender.value, len(rank)),
        -payment.captured.minor,
        payment.reference,
    )


def _obstacle(payment: PaymentFacts, now: datetime) -> str:
    """Why the payer cannot give this payment back at all, as far as it is known beforehand; empty where it can."""
    if payment.refund_refusal:
        return payment.refund_refusal
    if payment.refundable_until is not None and now > payment.refundable_until:
        return f"its refund window ended on {payment.refundable_until.date().isoformat()}"
    return ""


def _obstacle_to_part(payment: PaymentFacts, part: int, room: int) -> str:
    if payment.is_part_refundable or part == room:
        return ""
    return "its payer gives back all that is left of it, or nothing"


def _share(
    payment: PaymentFacts,
    minor: int,
    *,
    is_void: bool = False,
    replaces: str = "",
    obstacle: str = "",
    policy: Policy | None = None,
) -> PaymentShare:
    fallback = "store_credit" if policy and policy.on_unrefundable == "store_credit" else "person"
    if payment.is_returned_there:
        fallback = "there"
    return PaymentShare(
        payment.platform,
        payment.reference,
        payment.gateway,
        Money(minor, payment.captured.currency),
        is_void,
        replaces,
        obstacle,
        fallback if obstacle else "",
    )
