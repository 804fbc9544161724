"""Receive: an event from the inbox opens a case, joins the order's open one, or brings late news about a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from refundflow.domain.facts import DisputeState, Facts, OrderFacts, OrderRef, PaymentFacts
from refundflow.domain.ids import CaseId, EventId
from refundflow.domain.inbound import (
    CancellationRequested,
    DisputeSeen,
    Irrelevant,
    MailReceived,
    MalformedError,
    MessageSeen,
    MessagesSeen,
    OperatorWord,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Reading,
    RefundSeen,
)
from refundflow.domain.mail import MailAsks, MailIgnored, MailReplies, MailUnclear, read_mail
from refundflow.domain.plan import ask_to_confirm, underway_of
from refundflow.domain.policy import Wanted
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Step, StepKind
from refundflow.flow import late_word, people
from refundflow.flow.carriers import note_message
from refundflow.flow.carry_out import StaleFactsError, carry_out, insert_plan
from refundflow.flow.context import Context, NotNowError, RefusedError, Runner, Wave
from refundflow.flow.gather import ReadLater, Unreadable, gather, read_order
from refundflow.flow.self_closing import close_tasks
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, inbox, payments, runs, steps
from refundflow.store.cases import Case
from refundflow.store.db import DatabaseAwayError
from refundflow.store.inbox import InboundEvent
from refundflow.transport.base import MaybeSentError, NotSentError

_FIRST_WAIT_S = 2.0
_STALE_WAIT_S = 0.2
_LONGEST_WAIT_S = 300.0
_MAX_FAILURES = 10
_SHOWN_TRIES = 5


@dataclass(frozen=True, slots=True)
class Received:
    """What became of an event. `retry_in_s`: a platform did not answer, come again."""

    outcome: str
    case_id: str = ""
    wave: Wave | None = None
    retry_in_s: float | None = None


def receive(context: Context, event_id: EventId, runner: Runner) -> Received:
    """Handles one event. Idempotent: an event that was handled is left alone, and two workers on one event end as one."""
    started = context.now()
    event = context.db.run(lambda connection: inbox.load(connection, event_id))
    if event is None:
        return Received("no such event")
    if event.state != "new":
        return Received(f"already {event.state}", event.case_id)
    try:
        received = _receive(context, event, runner)
    except DatabaseAwayError:
        raise
    except Exception as error:
        _fail(context, event, error, runner)
        raise

    def keep(connection: Connection) -> None:
        runs.keep_run(
            connection,
            task_id=runner.task_id,
            name="refundflow.intake",
            subject=f"event {event_id}",
            case_id=received.case_id,
            worker=runner.worker,
            started_at=started,
            ended_at=context.now(),
            outcome=received.outcome,
        )

    context.db.run(keep)
    return received


def _receive(context: Context, event: InboundEvent, runner: Runner) -> Received:
    inbound = context.platforms.inbound.get(event.source)
    if inbound is None:
        return _later(context, event, ReadLater(event.source, f"source '{event.source}' is not configured"))
    try:
        reading = inbound.read_event(event.topic, event.body)
    except MalformedError as error:
        return _close(context, event, "unreadable", f"cannot be read: {error}", runner)
    match reading:
        case Irrelevant(why=why):
            return _close(context, event, "ignored", why, runner)
        case CancellationRequested() | OrderCancelledElsewhere():
            ref = _at_home(context, reading.order)
            return _about_order(context, event, reading, ref, _wanted(event, reading), runner)
        case MessageSeen() | MessagesSeen():
            return _about_messages(context, event, reading, runner)
        case MailReceived():
            return _about_mail(context, event, reading, runner)
        case OperatorWord():
            return _about_operator(context, event, reading, runner)
        case RefundSeen(step_key=str() as step_key) if step_key:
            return _about_our_refund(context, event, reading, runner)
        case RefundSeen() | PaymentRefundsChanged() | DisputeSeen():
            return _about_payment(context, event, reading, runner)


def _fail(context: Context, event: InboundEvent, error: Exception, runner: Runner) -> None:
    """Handling the event raised: a bug of ours. It is tried again for a while, then parked in sight of a person."""
    note = f"{type(error).__name__}: {error}".replace("\x00", "")[:500].encode("utf-8", "replace").decode()
    if event.tries + 1 >= _MAX_FAILURES:
        _close(context, event, "parked", note, runner)
    else:
        _later(context, event, ReadLater(event.source, note))


def _wanted(event: InboundEvent, reading: CancellationRequested | OrderCancelledElsewhere) -> Wanted:
    lines = reading.lines if isinstance(reading, CancellationRequested) else ()
    is_proven = reading.is_proven if isinstance(reading, CancellationRequested) else True
    return Wanted(lines=lines, reason=reading.reason, is_verified=event.is_verified and is_proven)


def _at_home(context: Context, ref: OrderRef) -> OrderRef:
    """Where the order was placed: news of a system that only mirrors orders are about the order that it mirrors."""
    routings = (context.routing, *context.routes.values())
    if ref.number and all(ref.platform != routing.order_platform for routing in routings):
        for routing in routings:
            if ref.platform in routing.mirrors:
                return OrderRef(routing.order_platform, number=ref.number)
    return ref


def _about_order(
    context: Context, event: InboundEvent, reading: Reading, ref: OrderRef, wanted: Wanted, runner: Runner
) -> Received:
    order = read_order(context, ref)
    if isinstance(order, ReadLater):
        return _later(context, event, order)
    if isinstance(order, Unreadable):
        return _hand_to_person(context, event, ref, wanted, order, runner)
    if isinstance(reading, OrderCancelledElsewhere):
        if order.cancelled_at is None and event.tries < _SHOWN_TRIES:
            # Some tell it when it begins. What the order shows counts; if it never does, somebody wants it cancelled.
            why = "says that the order is cancelled, and does not show it yet"
            return _later(context, event, ReadLater(order.platform, why))
        ended = _end_tasks(context, event, order, runner)
        if ended is not None:
            return ended
        echo = _echo(context, event, order, runner)
        if echo is not None:
            return echo
    return _open_case(context, event, reading, order, wanted, runner)


def _end_tasks(context: Context, event: InboundEvent, order: OrderFacts, runner: Runner) -> Received | None:
    """News of what a person of the shop did in a channel, because a task of ours asked for it."""
    wave = close_tasks(context, order, runner)
    if wave is None:
        return None
    if isinstance(wave, ReadLater):
        return _later(context, event, wave)
    ref = OrderRef(order.platform, order.order_id, order.number)
    attached = context.db.run(lambda c: _attach_to_latest(context, c, event, ref, runner))
    return replace(attached, wave=wave) if attached is not None else None


def _open_case(
    context: Context, event: InboundEvent, reading: Reading, order: OrderFacts, wanted: Wanted, runner: Runner
) -> Received:
    known = context.db.run(lambda connection: _open_wanted(connection, order))
    facts = gather(context, order, known.joined(wanted) if known else wanted)
    if isinstance(facts, ReadLater):
        return _later(context, event, facts)
    if isinstance(facts, Unreadable):
        ref = OrderRef(order.platform, order.order_id, order.number)
        return _hand_to_person(context, event, ref, wanted, facts, runner)
    ready: Facts = facts
    try:
        return context.db.run(
            lambda connection: _open_or_join(context, connection, event, reading, ready, wanted, runner)
        )
    except StaleFactsError as stale:
        return _later(context, event, ReadLater(order.platform, stale.reason, _STALE_WAIT_S))


def _open_wanted(connection: Connection, order: OrderFacts) -> Wanted | None:
    """What the order's open case wants and does already, so that the facts are asked about what is new."""
    latest = cases.latest_of_order(connection, order.platform, order.order_id)
    if latest is None or not latest.is_open:
        return None
    return replace(latest.wanted, underway=underway_of(steps.of_case(connection, latest.case_id)))


def _open_or_join(
    context: Context,
    connection: Connection,
    event: InboundEvent,
    reading: Reading,
    facts: Facts,
    wanted: Wanted,
    runner: Runner,
) -> Received:
    now = context.now()
    held = inbox.load(connection, event.event_id, lock=True)
    if held is None or held.state != "new":
        return Received("handled meanwhile", held.case_id if held else "")
    order = facts.order
    requested_by = reading.requested_by if isinstance(reading, CancellationRequested) else ""
    case, is_new = cases.open_or_join(
        connection,
        case_id=context.new_case_id(now),
        platform=order.platform,
        order_id=order.order_id,
        order_number=order.number,
        wanted=wanted,
        requested_by=requested_by,
        now=now,
    )
    how = "opened" if is_new else "joined"
    cases.add_source(connection, case.case_id, event.event_id, source=event.source, how=how, now=now)
    both = wanted if is_new else case.wanted.joined(wanted)
    widened = both != case.wanted
    if widened:
        cases.set_wanted(connection, case.case_id, both)
    if is_new:
        audit.write(
            connection,
            case.case_id,
            "case.opened",
            now=now,
            actor=event.source,
            event_id=event.event_id,
            order=order.number,
        )
    else:
        audit.write(
            connection,
            case.case_id,
            "case.joined",
            now=now,
            actor=event.source,
            event_id=event.event_id,
            widened=widened,
        )
    wave = Wave(case.case_id)
    if is_new or widened or isinstance(reading, DisputeSeen):
        _, wave = carry_out(
            context, connection, replace(case, wanted=both), facts, now=now, actor=runner.worker
        )
    if isinstance(reading, CancellationRequested) and not reading.is_proven:
        wave = _let_confirm(context, connection, case.case_id, reading, facts, wave, runner)
    inbox.finish(
        connection,
        event.event_id,
        state="handled",
        case_id=case.case_id,
        note=how,
        task_id=runner.task_id,
        now=now,
    )
    if is_new:
        # Last, because the chain that names every case is locked from here to the commit.
        _name_case(connection, case, event, now)
    return Received(how, case.case_id, wave)


def _let_confirm(
    context: Context,
    connection: Connection,
    case_id: CaseId,
    reading: CancellationRequested,
    facts: Facts,
    wave: Wave,
    runner: Runner,
) -> Wave:
    """Whoever wrote from the order's own address is sent the link that proves it, once; anybody else waits for a person."""
    case = cases.load(connection, case_id)
    order = facts.order
    is_theirs = bool(order.email) and order.email.strip().lower() == reading.requested_by
    if (
        case is None
        or case.state is not CaseState.HELD
        or not is_theirs
        or context.mail_rules.reply == "none"
    ):
        return wave
    if not context.portal_link(order.platform, order.number, context.now()):
        return wave
    existing = steps.of_case(connection, case_id)
    planned = ask_to_confirm(case_id, facts, context.routing_of(order.platform), existing)
    insert_plan(connection, case, planned, existing, now=context.now(), actor=runner.worker)
    more = settle_locked(context, connection, case, steps.of_case(connection, case_id), now=context.now())
    return Wave(case_id, (*wave.steps, *more.steps))


def _name_case(connection: Connection, case: Case, event: InboundEvent, now: datetime) -> None:
    audit.write(connection, audit.SYSTEM, "case.opened", now=now, actor=event.source, opened=case.case_id)


def _echo(context: Context, event: InboundEvent, order: OrderFacts, runner: Runner) -> Received | None:
    """The order platform reports a cancel that is ours: the event belongs to the case that did it, and starts nothing."""

    waiting: list[Step] = []

    def work(connection: Connection) -> Received | None:
        latest = cases.latest_of_order(connection, order.platform, order.order_id)
        if latest is None:
            return None
        ours = [
            s
            for s in steps.of_case(connection, latest.case_id)
            if s.kind is StepKind.CANCEL_ORDER and s.state not in (StepState.SKIPPED, StepState.PLANNED)
        ]
        if not ours:
            return None
        waiting[:] = [
            s
            for s in ours
            if s.platform == order.platform and s.state in (StepState.PENDING, StepState.UNKNOWN)
        ]
        return _attach(context, connection, event, latest, "echo", "our own cancel, reported back", runner)

    received = context.db.run(work)
    if received is None:
        return None
    for step in waiting:  # the platform's word is what it waited for: it is asked now
        received = replace(received, wave=late_word.hurry(context, step) or received.wave)
    return received


def _attach(
    context: Context,
    connection: Connection,
    event: InboundEvent,
    case: Case,
    how: str,
    note: str,
    runner: Runner,
) -> Received:
    now = context.now()
    if not inbox.finish(
        connection,
        event.event_id,
        state="handled",
        case_id=case.case_id,
        note=note,
        task_id=runner.task_id,
        now=now,
    ):
        return Received("handled meanwhile", case.case_id)
    cases.add_source(connection, case.case_id, event.event_id, source=event.source, how=how, now=now)
    audit.write(
        connection,
        case.case_id,
        f"case.{how}",
        now=now,
        actor=event.source,
        event_id=event.event_id,
        topic=event.topic,
    )
    return Received(how, case.case_id)


def _about_messages(
    context: Context, event: InboundEvent, reading: MessageSeen | MessagesSeen, runner: Runner
) -> Received:
    """What carriers say of our messages; one delivery may speak of several cases."""
    told = reading.messages if isinstance(reading, MessagesSeen) else (reading,)

    def work(connection: Connection) -> Received:
        found = [note_message(context, connection, seen, runner) for seen in sorted(told, key=_by_step)]
        ours = [case_id for case_id, _ in found if case_id]
        launches = tuple(launch for _, wave in found if wave for launch in wave.steps)
        case = cases.load(connection, ours[0]) if ours else None
        if case is None:
            return Received("")
        received = _attach(context, connection, event, case, "echo", "what became of our messages", runner)
        return replace(received, wave=Wave(case.case_id, launches))

    received = context.db.run(work)
    return (
        received
        if received.outcome
        else _close(context, event, "ignored", "about no message of ours", runner)
    )


def _by_step(seen: MessageSeen) -> str:
    return seen.step_key


def _about_mail(context: Context, event: InboundEvent, mail: MailReceived, runner: Runner) -> Received:
    """An e-mail: what it asks for is only ever a claim."""
    match read_mail(mail, context.mail_rules):
        case MailIgnored(why=why):
            return _close(context, event, "ignored", why, runner)
        case MailReplies(case_id=case_id):
            attached = context.db.run(lambda c: _attach_reply(context, c, event, case_id, runner))
            why = f"an answer to case {case_id}, which is not here"
            return attached or _close(context, event, "ignored", why, runner)
        case MailUnclear(why=why):
            ref = OrderRef(context.routing.order_platform, "", f"e-mail {event.event_id}")
            wanted = Wanted(is_verified=False)
            return _hand_to_person(context, event, ref, wanted, Unreadable(event.source, why), runner)
        case MailAsks(number=number):
            ref = OrderRef(context.routing.order_platform, "", number)
            asked = CancellationRequested(ref, requested_by=mail.sender, is_proven=False)
            return _about_order(context, event, asked, ref, _wanted(event, asked), runner)


def _attach_reply(
    context: Context, connection: Connection, event: InboundEvent, case_id: str, runner: Runner
) -> Received | None:
    case = cases.load(connection, case_id)
    if case is None:
        return None
    return _attach(context, connection, event, case, "echo", "the customer answered by e-mail", runner)


def _about_operator(context: Context, event: InboundEvent, word: OperatorWord, runner: Runner) -> Received:
    """A person of the shop decided in a tool of theirs, as the operator that the settings say that they are."""
    operator = context.members.get(f"{word.platform}:{word.member}")
    if operator is None:
        why = f"member {word.member} of {word.platform} is no operator: see [people] members in the settings"
        return _close(context, event, "ignored", why, runner)
    reason = word.reason or f"decided in {word.platform}"
    try:
        if word.is_approved:
            _, wave = people.approve(context, word.case_id, operator=operator, reason=reason)
        else:
            wave = people.decline(context, word.case_id, operator=operator, reason=reason)
    except NotNowError as error:
        return _later(context, event, ReadLater(event.source, error.reason))
    except RefusedError as error:
        return _close(context, event, "ignored", f"{operator}: {error.reason}", runner)

    def attach(connection: Connection) -> Received:
        case = cases.load(connection, word.case_id)
        assert case is not None, "it was decided a moment ago"
        verdict = "approved" if word.is_approved else "declined"
        return _attach(context, connection, event, case, "echo", f"{verdict} by {operator}", runner)

    return replace(context.db.run(attach), wave=wave)


def _about_our_refund(context: Context, event: InboundEvent, seen: RefundSeen, runner: Runner) -> Received:
    """A payer's word on a refund of ours. The word is a hint: the payer is asked before anything is believed."""
    step = context.db.run(lambda connection: steps.load(connection, seen.step_key))
    if step is None:
        # Our reference, but not of this database: another installation shares the account.
        return _close(context, event, "ignored", f"refund of step {seen.step_key}, which is not ours", runner)
    if step.state is StepState.SUCCEEDED:
        found = late_word.ask(context, step)
        if isinstance(found, ReadLater):
            return _later(context, event, found)
        wave = late_word.apply(context, step, found, runner)
    else:
        wave = late_word.hurry(context, step)

    def work(connection: Connection) -> Received:
        case = cases.load(connection, step.case_id)
        assert case is not None, "a step's case exists"
        return _attach(context, connection, event, case, "echo", f"refund {seen.status.value}", runner)

    return replace(context.db.run(work), wave=wave)


def _about_payment(
    context: Context,
    event: InboundEvent,
    reading: RefundSeen | PaymentRefundsChanged | DisputeSeen,
    runner: Runner,
) -> Received:
    """News about a payment: a dispute, or a refund that somebody else made."""
    reference = reading.payment_reference
    payment = context.db.run(lambda c: payments.by_reference(c, reading.platform, reference))
    ref = reading.order
    if payment is not None:
        ref = OrderRef(payment["order_platform"], payment["order_id"])
    elif ref is None or not ref.platform:
        named = _order_of_payment(context, reading)
        if isinstance(named, ReadLater):
            return _later(context, event, named)
        ref = named
    if ref is None and not isinstance(reading, DisputeSeen):
        return _close(
            context, event, "ignored", f"payment {reference} belongs to no order that we know", runner
        )
    if ref is None:
        return _hand_to_person(
            context,
            event,
            OrderRef(reading.platform, "", reference),
            Wanted(
                is_dispute=isinstance(reading, DisputeSeen),
                is_record_only=not isinstance(reading, DisputeSeen),
            ),
            Unreadable(reading.platform, f"payment {reference} belongs to no order that we know"),
            runner,
        )
    if isinstance(reading, DisputeSeen):
        return _about_dispute(context, event, reading, ref, runner)
    if ref.platform in context.platforms.channels:
        order = read_order(context, ref)
        if isinstance(order, ReadLater):
            return _later(context, event, order)
        ended = _end_tasks(context, event, order, runner) if isinstance(order, OrderFacts) else None
        if ended is not None:
            return ended
    wave = _ask_again(context, reading.platform, ref, runner)
    if isinstance(wave, ReadLater):
        return _later(context, event, wave)
    attached = context.db.run(lambda c: _attach_to_latest(context, c, event, ref, runner))
    if attached is not None:
        return replace(attached, wave=wave)
    # The next case about the order reads the payer's refunds anew; nobody asked us for anything yet.
    return _close(
        context, event, "ignored", "refunds made elsewhere, on an order that we have no case about", runner
    )


def _ask_again(context: Context, platform: str, ref: OrderRef, runner: Runner) -> Wave | ReadLater | None:
    """Something changed about an order's refunds at a payer, and nobody says which: ours are asked about. One that we hold
    for done may have failed late; one that waits is looked at now.
    """

    def ours(connection: Connection) -> list[Step]:
        latest = cases.latest_of_order(connection, ref.platform, ref.order_id) if ref.order_id else None
        all_steps = steps.of_case(connection, latest.case_id) if latest else []
        return [s for s in all_steps if s.action == "refund" and s.platform == platform]

    wave: Wave | None = None
    for step in context.db.run(ours):
        if step.state in (StepState.PENDING, StepState.UNKNOWN):
            wave = late_word.hurry(context, step) or wave
        elif step.state is StepState.SUCCEEDED:
            found = late_word.ask(context, step)
            if isinstance(found, ReadLater):
                return found
            wave = late_word.apply(context, step, found, runner) or wave
    return wave


def _attach_to_latest(
    context: Context, connection: Connection, event: InboundEvent, ref: OrderRef, runner: Runner
) -> Received | None:
    if not ref.order_id:
        return None
    latest = cases.latest_of_order(connection, ref.platform, ref.order_id)
    if latest is None:
        return None
    return _attach(
        context, connection, event, latest, "echo", "refunds of the order's payment, reported", runner
    )


def _order_of_payment(
    context: Context, reading: RefundSeen | PaymentRefundsChanged | DisputeSeen
) -> OrderRef | ReadLater | None:
    """Which order the payment says it is for; None where it does not say, or the payer does not know it."""
    payer = context.platforms.payment_reader(reading.platform)
    if payer is None:
        return None
    try:
        found = payer.read_payment("", reading.payment_reference)
    except (NotSentError, MaybeSentError) as error:
        return ReadLater(reading.platform, error.reason)
    if isinstance(found, PaymentFacts) and found.order_number:
        return OrderRef(context.routing.order_platform, "", found.order_number)
    return None


def _about_dispute(
    context: Context, event: InboundEvent, seen: DisputeSeen, ref: OrderRef, runner: Runner
) -> Received:
    """A dispute: unsent refunds of its payment are taken back first, then a person is asked."""
    wave = context.db.run(lambda connection: late_word.note_dispute(context, connection, seen))
    if seen.state in (DisputeState.WON, DisputeState.LOST, DisputeState.NONE):
        attached = context.db.run(lambda c: _attach_to_latest(context, c, event, ref, runner))
        if attached is not None:
            return replace(attached, wave=wave)
    ref = (
        ref
        if context.platforms.order_home(ref.platform) is not None
        else OrderRef(context.routing.order_platform, ref.order_id, ref.number)
    )
    wanted = Wanted(is_dispute=True, is_verified=event.is_verified, reason="fraud")
    return _about_order(context, event, seen, ref, wanted, runner)


def _hand_to_person(
    context: Context, event: InboundEvent, ref: OrderRef, wanted: Wanted, why: Unreadable, runner: Runner
) -> Received:
    """The order is not known, or its facts cannot be had: a case that a person sees, with the reason."""

    def work(connection: Connection) -> Received:
        now = context.now()
        if (held := inbox.load(connection, event.event_id, lock=True)) is None or held.state != "new":
            return Received("handled meanwhile", held.case_id if held else "")
        case, is_new = cases.open_or_join(
            connection,
            case_id=context.new_case_id(now),
            platform=ref.platform,
            order_id=ref.order_id or f"?{ref.number}",
            order_number=ref.number,
            wanted=wanted,
            requested_by="",
            now=now,
        )
        how = "opened" if is_new else "joined"
        cases.add_source(connection, case.case_id, event.event_id, source=event.source, how=how, now=now)
        if is_new:
            cases.move(connection, case, CaseState.ATTENTION, why=f"{why.platform}: {why.reason}", now=now)
        audit.write(
            connection,
            case.case_id,
            f"case.{how}",
            now=now,
            actor=event.source,
            event_id=event.event_id,
            why=why.reason,
        )
        inbox.finish(
            connection,
            event.event_id,
            state="handled",
            case_id=case.case_id,
            note=why.reason,
            task_id=runner.task_id,
            now=now,
        )
        if is_new:
            _name_case(connection, case, event, now)
        return Received(f"{how}; needs a person: {why.reason}", case.case_id)

    return context.db.run(work)


def _later(context: Context, event: InboundEvent, why: ReadLater) -> Received:
    """A platform did not answer: the event stays new and is due again, with a growing pause; never given up silently."""
    wait_s = why.after_s or min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(event.tries, 10))
    wait_s *= 1 + 0.2 * context.jitter()
    note = f"waits for {why.platform}: {why.reason}"
    is_short = wait_s <= context.pace.short_s

    def work(connection: Connection) -> None:
        grace_s = context.pace.sweep_grace_s if is_short else 0.0
        due_at = context.now() + timedelta(seconds=wait_s + grace_s)
        inbox.postpone(connection, event.event_id, due_at=due_at, note=note)

    context.db.run(work)
    return Received(note, retry_in_s=wait_s if is_short else None)


def _close(context: Context, event: InboundEvent, state: str, note: str, runner: Runner) -> Received:
    def work(connection: Connection) -> None:
        inbox.finish(
            connection,
            event.event_id,
            state=state,
            case_id=None,
            note=note,
            task_id=runner.task_id,
            now=context.now(),
        )

    context.db.run(work)
    return Received(f"{state}: {note}")
