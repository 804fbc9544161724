"""The plan: which steps a decision makes, what each needs, who returns the money, and who owns the stock. Pure.

One payer per payment and one stock owner per unit are decided here, from routing, and every connector is told
explicitly what it does not own (rule of money 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from refundflow.domain.commands import (
    AllocateCredit,
    AnyCommand,
    CancelLines,
    CancelOrder,
    CommentTicket,
    CreditNote,
    HumanTask,
    KeepRecord,
    RecordOrderRefund,
    RecordRefund,
    Refund,
    Restock,
    SendMessage,
    VoidInvoice,
    VoidPayment,
)
from refundflow.domain.facts import (
    Facts,
    InvoiceFacts,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    RefundedBy,
    TakesBack,
)
from refundflow.domain.ids import CaseId, PaymentId, StepKey, mint_step_key, wire_key
from refundflow.domain.money import Money
from refundflow.domain.policy import Decision, MoneyUnderway, PaymentShare, Underway, Verdict, is_orphan
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind


@dataclass(frozen=True, slots=True)
class Routing:
    """Who does what. Platform slugs; empty: nobody.

    `order_platform`: where orders live; `payers`: (gateway name, payer) pairs: who returns the money of a payment that
    came through that gateway; `stock_owner`: who puts units back ("" when nobody should); `stock_location`: where it puts
    them, as it calls the place (needed for parts of an order where the platform does not choose itself); `mirrors`: which other
    systems hold the same order and are cancelled after the order platform, in this order; `books`, `customer_channel`,
    `staff_channel`: which connector; `staff_to`: the staff channel's address; `sms_channel`: who
    sends short messages to customers who gave a number; `desk`: the support desk whose agents read how the case stands (as
    `customer_channel` it tells the customer, by a public comment); `logs`: the tools that keep one record a case; `refund_account_code`: the bank or
    clearing account in the books that refunds are paid from; `messages`: the customer messages that the shop sends.
    """

    order_platform: str = "shopify"
    payers: tuple[tuple[str, str], ...] = (("shopify_payments", "shopify"), ("stripe", "stripe"))
    stock_owner: str = "shopify"
    stock_location: str = ""
    mirrors: tuple[str, ...] = ()
    books: str = ""
    customer_channel: str = ""
    staff_channel: str = ""
    staff_to: str = ""
    sms_channel: str = ""
    desk: str = ""
    logs: tuple[str, ...] = ()
    refund_account_code: str = ""
    invoice_number: str = "{number}"
    messages: tuple[str, ...] = ("cancellation_received", "order_cancelled", "refund_sent", "nothing_charged")

    def payer_of(self, gateway: str) -> str:
        """The one party that returns money of this gateway; empty where the shop has not said."""
        return dict(self.payers).get(gateway, "")

    def invoice_number_of(self, order_number: str) -> str:
        """The sales invoice's number in the books: the pattern with the order's number, without a leading `#`."""
        return self.invoice_number.replace("{number}", order_number.lstrip("#"))


#: Channels in which a message is a comment on a ticket.
DESKS: Final = frozenset({"zendesk", "freshdesk"})
#: The messages that are worth a text on the telephone.
SMS_MESSAGES: Final = ("order_cancelled", "refund_sent", "refund_failed")
#: The one message to the staff: how the case stands, with every step.
REPORT: Final = "case_report"

#: Waves, as people read them; a step still waits only for what it needs.
WAVE: Final = {"acknowledge": 1, "cancel": 2, "effects": 3, "books": 4, "tell": 5}


@dataclass(slots=True)
class _Sheet:
    """The plan while it is written: mints keys, keeps order."""

    case_id: CaseId
    counts: dict[StepKind, int]
    steps: list[Step] = field(default_factory=list)

    def mint(self, kind: StepKind) -> StepKey:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return mint_step_key(self.case_id, kind.value, self.counts[kind])

    def add(
        self,
        key: StepKey,
        kind: StepKind,
        platform: str,
        command: AnyCommand,
        wave: str,
        *,
        needs: Iterable[StepKey] = (),
        follows: Iterable[StepKey] = (),
        uses: tuple[tuple[str, StepKey], ...] = (),
        amount: Money | None = None,
        payment_id: PaymentId | None = None,
        action: str = "",
    ) -> StepKey:
        self.steps.append(
            Step(
                step_key=key,
                case_id=self.case_id,
                number=len(self.steps),
                kind=kind,
                action=action or ACTION_OF[type(command)],
                platform=platform,
                command=command,
                state=StepState.PLANNED,
                needs=tuple(needs),
                follows=tuple(follows),
                uses=uses,
                wave=WAVE[wave],
                amount=amount,
                payment_id=payment_id,
            )
        )
        return key


ACTION_OF: Final[dict[type, str]] = {
    CancelOrder: "cancel_order",
    CancelLines: "cancel_lines",
    Restock: "restock",
    Refund: "refund",
    VoidPayment: "void_payment",
    RecordOrderRefund: "record_order_refund",
    VoidInvoice: "void_invoice",
    CreditNote: "credit_note",
    AllocateCredit: "allocate_credit",
    RecordRefund: "record_refund",
    SendMessage: "send_message",
    CommentTicket: "comment_ticket",
    KeepRecord: "keep_record",
    HumanTask: "human_task",
}


def payment_id_of(platform: str, reference: str) -> PaymentId:
    return PaymentId(f"{platform}:{reference}")


def underway_of(existing: Iterable[Step]) -> Underway:
    """What the steps of a case did or are doing, for the next decision. A dead step counts: its intention stands, and
    whoever replays it carries it out; a skipped or discarded one does not.
    """
    alive = [s for s in existing if s.state not in (StepState.SKIPPED, StepState.REVERSED)]
    taken = [(s.state, lines) for s in alive if (lines := _taken_by(s))]
    replaced = {s.command.replaces for s in alive if isinstance(s.command, Refund)}
    money = tuple(m for s in alive if (m := _money_of(s)) is not None)
    return Underway(
        taken=tuple(line for _, lines in taken for line in lines),
        pending=tuple(line for state, lines in taken if state is not StepState.SUCCEEDED for line in lines),
        money=money,
        failed=tuple(
            m
            for s in existing
            if s.state is StepState.REVERSED
            and s.step_key not in replaced
            and (m := _money_of(s)) is not None
        ),
        # Money of a case that took nothing out of the order can only be for what came back.
        is_returning=any(isinstance(s.command, Restock) and s.command.is_return for s in alive)
        or (bool(money) and not taken and not any(isinstance(s.command, CancelOrder) for s in alive)),
    )


def _taken_by(step: Step) -> tuple[LineQuantity, ...]:
    """The units that a step takes out of the order on its platform."""
    match step.command:
        case CancelLines(lines=lines) | HumanTask(lines=lines):
            return lines
        case (
            Refund(takes_out=True, is_whole=False, lines=lines)
            | RecordOrderRefund(takes_out=True, is_whole=False, lines=lines)
        ):
            return lines
        case _:
            return ()


def _money_of(step: Step) -> MoneyUnderway | None:
    """The money that a step gives back: a refund, a void, or a person's task about a payment."""
    if step.amount is None:
        return None
    match step.command:
        case Refund(payment_reference=reference) | VoidPayment(payment_reference=reference):
            return MoneyUnderway(step.platform, reference, step.amount.minor, step.step_key)
        case HumanTask(payment_reference=reference) if reference:
            return MoneyUnderway("", reference, step.amount.minor, step.step_key)
        case _:
            return None


def acknowledge(case_id: CaseId, facts: Facts, routing: Routing, existing: Iterable[Step] = ()) -> list[Step]:
    """The one step that does not wait for a decision: telling the customer that the request has come in."""
    existing = tuple(existing)
    sheet = _sheet(case_id, existing)
    if _tells(routing, "cancellation_received", facts) and not _has_message(
        existing, "cancellation_received"
    ):
        _message(sheet, routing.customer_channel, facts.order.email, "cancellation_received", "acknowledge")
    return sheet.steps


def tell_customer(
    case_id: CaseId, facts: Facts, routing: Routing, template: str, existing: Iterable[Step] = ()
) -> list[Step]:
    """One message outside the plan: a declined request, a refund that failed late."""
    sheet = _sheet(case_id, existing)
    if routing.customer_channel and facts.order.email:
        _message(sheet, routing.customer_channel, facts.order.email, template, "tell")
    if routing.sms_channel and facts.order.phone and template in SMS_MESSAGES:
        _message(sheet, routing.sms_channel, facts.order.phone, template, "tell")
    return sheet.steps


def ask_to_confirm(case_id: CaseId, facts: Facts, routing: Routing, existing: Iterable[Step]) -> list[Step]:
    """One message with the customer's link, for a request that proves nothing about who made it; to the order's own address."""
    existing = tuple(existing)
    if _has_message(existing, "confirm_request"):
        return []
    return tell_customer(case_id, facts, routing, "confirm_request", existing)


def tell_staff(
    case_id: CaseId, routing: Routing, existing: Iterable[Step], facts: Facts | None = None
) -> list[Step]:
    """How the case stands now, to everybody of the shop: the staff channel, the support desk, the logs."""
    existing = tuple(existing)
    sheet = _sheet(case_id, existing)
    _report(sheet, routing, facts.order if facts else None, existing)
    return sheet.steps


def open_records(case_id: CaseId, routing: Routing, existing: Iterable[Step]) -> list[Step]:
    """The case's records in the shop's logs, made as soon as there is a case; none where they are there already."""
    existing = tuple(existing)
    sheet = _sheet(case_id, existing)
    for log in routing.logs:
        if not any(isinstance(s.command, KeepRecord) and s.platform == log for s in existing):
            _record(sheet, log, "acknowledge", existing)
    return sheet.steps


def is_report(step: Step) -> bool:
    """Whether a step only tells the shop's own people how the case stands."""
    match step.command:
        case KeepRecord() | SendMessage(template="case_report") | CommentTicket(template="case_report"):
            return True
        case _:
            return False


def _report(
    sheet: _Sheet,
    routing: Routing,
    order: OrderFacts | None,
    existing: Iterable[Step],
    follows: Iterable[StepKey] = (),
) -> None:
    """`order`: whose customer a new ticket would be for; without one, only a ticket that is there already is told."""
    follows, existing = tuple(follows), tuple(existing)
    if routing.staff_channel:
        _message(sheet, routing.staff_channel, routing.staff_to, REPORT, "tell", follows=follows)
    if routing.desk:
        requester = order.email if order else ""
        _comment(sheet, routing.desk, requester, REPORT, "tell", follows=follows)
    for log in routing.logs:
        _record(sheet, log, "tell", existing, follows)


def _record(
    sheet: _Sheet, log: str, wave: str, existing: Iterable[Step], follows: Iterable[StepKey] = ()
) -> None:
    """One state of the case's record. It comes after the one before, or the older could overwrite the newer."""
    before = [
        s.step_key
        for s in (*existing, *sheet.steps)
        if isinstance(s.command, KeepRecord) and s.platform == log
    ]
    key = sheet.mint(StepKind.NOTIFY)
    command = KeepRecord(
        step_key=key,
        key=wire_key(key, 1),
        case_id=sheet.case_id,
        title="",
        state="",
        text="",
        fields=(),
        version=0,
    )
    sheet.add(key, StepKind.NOTIFY, log, command, wave, follows=(*follows, *before[-1:]))


def _comment(
    sheet: _Sheet,
    desk: str,
    requester: str,
    template: str,
    wave: str,
    needs: Iterable[StepKey] = (),
    follows: Iterable[StepKey] = (),
) -> None:
    """A comment on the case's ticket; the customer reads every message but the report."""
    key = sheet.mint(StepKind.NOTIFY)
    command = CommentTicket(
        step_key=key,
        key=wire_key(key, 1),
        case_id=sheet.case_id,
        order_number="",
        template=template,
        subject="",
        text="",
        requester_email=requester,
        is_public=template != REPORT,
    )
    sheet.add(key, StepKind.NOTIFY, desk, command, wave, needs=needs, follows=follows)


def human_task(
    case_id: CaseId, existing: Iterable[Step], platform: str, text: str, amount: Money | None
) -> Step:
    """A step that a person carries out: exact instructions, ended by the person with a proof."""
    sheet = _sheet(case_id, existing)
    return _human(sheet, platform, text, amount)


def plan_steps(
    case_id: CaseId,
    facts: Facts,
    decision: Decision,
    routing: Routing,
    existing: Iterable[Step] = (),
    reason: str = "customer",
) -> list[Step]:
    """The steps that carry an approved decision out, beside those that exist already.

    A case that a second source widened is planned again from fresh facts. The decision was made about what is new
    (`underway_of`), so its lines and shares are planned as they are; what exists is only waited for.
    """
    if decision.verdict is not Verdict.APPROVE:
        return []
    existing = tuple(existing)
    alive = [s for s in existing if s.state not in (StepState.SKIPPED, StepState.REVERSED)]
    sheet = _sheet(case_id, existing)
    order = facts.order

    first = _plan_cancel(sheet, facts, decision, routing, alive, reason)
    taker = _taker_of(facts, decision, alive, routing)
    # A step comes after what it needs: where a later document carries the restock, its proof is planned last.
    is_own_call = routing.stock_owner == facts.order.platform and not facts.order.is_restock_carried
    is_late = taker is not None or is_own_call or _is_taken_back_by_note(facts, routing)
    restock = None if is_late else _plan_restock(sheet, facts, decision, routing, first, alive)
    money = _plan_money(sheet, facts, decision, first, reason, taker, alive)
    refunds = [key for key, is_refund in money if is_refund]
    record = _plan_record(sheet, facts, decision, first, refunds, reason, taker, alive)
    note = _open_note(existing)
    books = (
        _plan_payments_on(sheet, routing, note, refunds)
        if note is not None and refunds
        else _plan_books(sheet, facts, routing, sheet.steps, refunds, first, alive, decision)
    )
    _plan_left_in_books(sheet, facts, decision, routing, first, alive)
    if is_late:
        restock = _plan_restock(sheet, facts, decision, routing, first, alive)
    if record:
        books = [record, *books]

    if _tells(routing, "order_cancelled", facts) and first and not _has_message(alive, "order_cancelled"):
        _message(sheet, routing.customer_channel, order.email, "order_cancelled", "effects", needs=first)
    if (
        _texts(routing, "order_cancelled", facts)
        and first
        and not _is_texted(alive, routing, "order_cancelled")
    ):
        _message(sheet, routing.sms_channel, order.phone, "order_cancelled", "effects", needs=first)
    if _tells(routing, "refund_sent", facts) and refunds:
        _message(sheet, routing.customer_channel, order.email, "refund_sent", "tell", needs=refunds)
    if _texts(routing, "refund_sent", facts) and refunds:
        _message(sheet, routing.sms_channel, order.phone, "refund_sent", "tell", needs=refunds)
    was_charged = any(p.captured.minor for p in facts.payments)
    if (
        _tells(routing, "nothing_charged", facts)
        and not was_charged
        and any(x.is_void for x in decision.shares)
    ):
        voids = [key for key, _ in money] or list(first)
        if voids and not _has_message(alive, "nothing_charged"):
            _message(sheet, routing.customer_channel, order.email, "nothing_charged", "tell", needs=voids)
    if sheet.steps:
        waits = [*first, *([restock] if restock else []), *(key for key, _ in money), *books]
        _report(sheet, routing, order, existing, waits)
    return sheet.steps


def _sheet(case_id: CaseId, existing: Iterable[Step]) -> _Sheet:
    counts: dict[StepKind, int] = {}
    for step in existing:
        counts[step.kind] = counts.get(step.kind, 0) + 1
    return _Sheet(case_id, counts)


def _tells(routing: Routing, template: str, facts: Facts) -> bool:
    return bool(routing.customer_channel and facts.order.email and template in routing.messages)


def _texts(routing: Routing, template: str, facts: Facts) -> bool:
    return bool(routing.sms_channel and facts.order.phone and template in routing.messages)


def _is_texted(steps: Iterable[Step], routing: Routing, template: str) -> bool:
    return any(
        isinstance(s.command, SendMessage)
        and s.command.template == template
        and s.platform == routing.sms_channel
        for s in steps
    )


def _has_message(steps: Iterable[Step], template: str) -> bool:
    return any(
        isinstance(s.command, SendMessage | CommentTicket) and s.command.template == template for s in steps
    )


def _message(
    sheet: _Sheet,
    platform: str,
    to: str,
    template: str,
    wave: str,
    needs: Iterable[StepKey] = (),
    follows: Iterable[StepKey] = (),
) -> None:
    if platform in DESKS:
        _comment(sheet, platform, to, template, wave, needs, follows)
        return
    key = sheet.mint(StepKind.NOTIFY)
    # The text is written when the message is sent, from what is true then.
    command = SendMessage(step_key=key, key=wire_key(key, 1), to=to, template=template, subject="", text="")
    sheet.add(key, StepKind.NOTIFY, platform, command, wave, needs=needs, follows=follows)


def _human(
    sheet: _Sheet,
    platform: str,
    text: str,
    amount: Money | None,
    needs: Iterable[StepKey] = (),
    payment_reference: str = "",
    lines: tuple[LineQuantity, ...] = (),
) -> Step:
    """`payment_reference`, `lines`: as in `HumanTask`."""
    key = sheet.mint(StepKind.HUMAN_TASK)
    command = HumanTask(
        step_key=key, key=wire_key(key, 1), text=text, lines=lines, payment_reference=payment_reference
    )
    sheet.add(
        key,
        StepKind.HUMAN_TASK,
        platform,
        command,
        "effects",
        needs=needs,
        amount=amount,
    )
    return sheet.steps[-1]


def _plan_cancel(
    sheet: _Sheet, facts: Facts, decision: Decision, routing: Routing, alive: list[Step], reason: str
) -> tuple[StepKey, ...]:
    """The cancels that this plan's money and stock wait for: the order platform's, then one per mirror, each after the one
    before, so that a system that refuses leaves nothing cancelled behind it but what came before; planned here, or the
    whole order's that exist already.
    """
    order = facts.order
    if decision.is_return:
        return ()
    whole = [s.step_key for s in alive if isinstance(s.command, CancelOrder)]
    if whole and order.cancelled_at is None:
        return tuple(whole)
    if order.cancelled_at is not None:
        if not whole:
            _plan_orphans(sheet, facts, routing, reason)
        return ()
    if not decision.lines and not decision.is_whole:
        return ()
    keys: list[StepKey] = []
    own = _plan_own_cancel(sheet, order, decision, routing, alive, reason)
    if own:
        keys.append(own)
    for mirror in facts.mirrors:
        if mirror.cancelled_at is not None:
            continue
        if mirror.cancels is TakesBack.REFUND and mirror.platform == routing.books:
            continue  # the credit note takes it back
        by_call = decision.is_whole and mirror.cancels is TakesBack.CALL
        if not by_call:
            task = (
                f"Take out of order {mirror.number} in {mirror.platform}, which has no call for it: "
                f"{_items_as_text(_items(order, decision.lines))}. "
            )
            if not _is_asked(alive, task):
                proof = "Afterwards resolve this task with the document's number as proof."
                _human(sheet, mirror.platform, f"{task}{_by_when(decision)} {proof}", None, needs=keys)
            continue
        key = sheet.mint(StepKind.CANCEL_ORDER)
        command = CancelOrder(
            step_key=key,
            key=wire_key(key, 1),
            order_id=mirror.order_id,
            reason=reason,
            restock=routing.stock_owner == mirror.platform,
            order_number=mirror.number,
        )
        keys.append(
            sheet.add(key, StepKind.CANCEL_ORDER, mirror.platform, command, "cancel", needs=keys[-1:])
        )
    return tuple(keys)


def _plan_orphans(sheet: _Sheet, facts: Facts, routing: Routing, reason: str) -> None:
    """Somebody cancelled the order where it lives: the systems that mirror it follow. Money does not wait for them."""
    before: tuple[StepKey, ...] = ()
    for mirror in facts.mirrors:
        if not is_orphan(facts, mirror):
            continue
        key = sheet.mint(StepKind.CANCEL_ORDER)
        command = CancelOrder(
            step_key=key,
            key=wire_key(key, 1),
            order_id=mirror.order_id,
            reason=reason,
            restock=routing.stock_owner == mirror.platform,
            order_number=mirror.number,
        )
        sheet.add(key, StepKind.CANCEL_ORDER, mirror.platform, command, "cancel", needs=before)
        before = (key,)


def _paid_there(decision: Decision) -> PaymentShare | None:
    """The share that its payer returns by itself when a person cancels there."""
    return next((share for share in decision.shares if share.fallback == "there"), None)


def _plan_own_cancel(
    sheet: _Sheet, order: OrderFacts, decision: Decision, routing: Routing, alive: list[Step], reason: str
) -> StepKey | None:
    """The order platform's own cancel; None where its refund document does it."""
    how = order.cancels if decision.is_whole else order.cancels_lines
    if how is TakesBack.REFUND:
        return None
    if how is TakesBack.PERSON and (share := _paid_there(decision)):
        task = (
            f"Cancel in {order.platform}, order {order.number}: {_items_as_text(_items(order, decision.lines))}. It returns "
            f"{share.amount} to the buyer itself; give nothing back by another way. {share.obstacle}"
        )
        if asked := _is_asked(alive, task):
            return asked
        text = f"{task} {_by_when(decision)} This task ends by itself when {order.platform} shows that it is done."
        return _human(
            sheet,
            order.platform,
            text,
            share.amount,
            payment_reference=share.reference,
            lines=decision.lines,
        ).step_key
    if how is TakesBack.PERSON:
        task = (
            f"Take out of order {order.number} in {order.platform}, which has no call for it: "
            f"{_items_as_text(_items(order, decision.lines))}. Return no money there, that follows by itself. "
            + (
                "Let it put the units back in stock. "
                if routing.stock_owner == order.platform and order.is_restock_carried
                else "Put nothing back in stock there. "
            )
        )
        asked = _is_asked(alive, task)
        if asked:
            return asked
        proof = "Afterwards resolve this task with what you see there as proof."
        text = f"{task}{_by_when(decision)} {proof}"
        return _human(sheet, order.platform, text, None, lines=decision.lines).step_key
    key = sheet.mint(StepKind.CANCEL_ORDER)
    restock = routing.stock_owner == order.platform and order.is_restock_carried
    command: AnyCommand
    follows: list[StepKey] = []
    if decision.is_whole:
        command = CancelOrder(
            step_key=key,
            key=wire_key(key, 1),
            order_id=order.order_id,
            reason=reason,
            restock=restock,
            order_number=order.number,
        )
        follows = [s.step_key for s in alive if isinstance(s.command, CancelLines)]
    else:
        command = CancelLines(
            step_key=key,
            key=wire_key(key, 1),
            order_id=order.order_id,
            currency=order.currency,
            lines=decision.lines,
            restock=restock,
            location=routing.stock_location or order.location,
        )
    return sheet.add(key, StepKind.CANCEL_ORDER, order.platform, command, "cancel", follows=follows)


def _is_asked(alive: list[Step], task: str) -> StepKey | None:
    """The task that asks a person for this already."""
    for step in alive:
        if isinstance(step.command, HumanTask) and step.command.text.startswith(task):
            return step.step_key
    return None


def _items(order: OrderFacts, lines: Iterable[LineQuantity]) -> tuple[ItemQuantity, ...]:
    """Units of order lines as units of articles, summed by SKU."""
    skus = {line.line_id: line.sku or line.line_id for line in order.lines}
    units: dict[str, int] = {}
    for line in lines:
        sku = skus.get(line.line_id, line.line_id)
        units[sku] = units.get(sku, 0) + line.quantity
    return tuple(ItemQuantity(sku, quantity) for sku, quantity in units.items())


def _items_as_text(items: Iterable[ItemQuantity]) -> str:
    return ", ".join(f"{item.quantity} x {item.sku}" for item in items) or "all that is left"


def _by_when(decision: Decision) -> str:
    return f"Do it by {decision.task_due}." if decision.task_due else "Do it soon."


@dataclass(frozen=True, slots=True)
class _Taker:
    """Which document takes units out of the order on its platform, where no cancel call does. `lines`: these units;
    `restock`: the document puts them back on the shelf too.
    """

    lines: tuple[LineQuantity, ...]
    restock: bool
    is_whole: bool


def _taker_of(facts: Facts, decision: Decision, alive: list[Step], routing: Routing) -> _Taker | None:
    order = facts.order
    if order.cancelled_at is not None or not decision.lines:
        return None
    how = order.cancels if decision.is_whole else order.cancels_lines
    if how is not TakesBack.REFUND or any(_takes_all(s) for s in alive):
        return None
    restock = routing.stock_owner == order.platform and order.is_restock_carried
    return _Taker(decision.lines, restock, decision.is_whole)


def _takes_all(step: Step) -> bool:
    """Whether the step takes the whole order back."""
    match step.command:
        case CancelOrder():
            return True
        case (
            Refund(takes_out=takes_out, is_whole=is_whole)
            | RecordOrderRefund(takes_out=takes_out, is_whole=is_whole)
        ):
            return takes_out and is_whole
        case _:
            return False


def _plan_restock(
    sheet: _Sheet,
    facts: Facts,
    decision: Decision,
    routing: Routing,
    first: tuple[StepKey, ...],
    alive: list[Step],
) -> StepKey | None:
    """One owner puts each unit back. Where another step of this plan carries it (a cancel, a refund document, a credit note
    of the owner's), this step only proves it; the owner of a shipped order's stock waits for the decision that the goods are
    back.
    """
    owner = routing.stock_owner
    order = facts.order
    if not owner or order.cancelled_at is not None or not decision.lines:
        return None
    if owner == order.platform and not order.is_stock_taken:
        return None
    if decision.is_return and any(s.kind is StepKind.RESTOCK for s in alive):
        return None
    carrier = next((s for s in sheet.steps if s.platform == owner and _puts_back(s)), None)
    is_new = carrier is not None or bool(_takers(sheet)) or any(s.step_key in first for s in sheet.steps)
    if not decision.is_return and not is_new:
        return None  # the cancel exists already, and so does its restock
    by_hand = any(m.platform == owner for m in facts.mirrors) or (
        owner == order.platform and order.is_restock_carried
    )
    if carrier is None and not decision.is_return and by_hand:
        return None  # a person takes the units out of the owner's order, and that puts them back
    waits = [carrier.step_key] if carrier else [*first, *_takers(sheet)]
    key = sheet.mint(StepKind.RESTOCK)
    command = Restock(
        step_key=key,
        key=wire_key(key, 1),
        order_id=order.order_id if owner == order.platform else _order_id_at(facts, owner),
        currency=order.currency,
        lines=decision.lines,
        carried_by=carrier.step_key if carrier else "",
        is_return=decision.is_return,
        location=routing.stock_location or (order.location if owner == order.platform else ""),
        order_number=order.number,
        items=_items(order, decision.lines),
    )
    # A platform whose own refund may put units back as well (not every vendor says) is asked after it: then it shows.
    own_refunds = [
        s.step_key
        for s in sheet.steps
        if isinstance(s.command, Refund) and s.platform == owner and s.step_key not in waits
    ]
    return sheet.add(
        key,
        StepKind.RESTOCK,
        owner,
        command,
        "effects",
        needs=waits,
        follows=() if carrier else own_refunds,
    )


def _puts_back(step: Step) -> bool:
    """Whether the step's own call raises its platform's stock."""
    match step.command:
        case CancelOrder(restock=restock) | CancelLines(restock=restock) | CreditNote(restock=restock):
            return restock
        case (
            Refund(takes_out=takes_out, restock=restock)
            | RecordOrderRefund(takes_out=takes_out, restock=restock)
        ):
            return takes_out and restock
        case _:
            return False


def _takers(sheet: _Sheet) -> list[StepKey]:
    """The steps of this plan that take units out of the order by a document."""
    return [
        s.step_key
        for s in sheet.steps
        if isinstance(s.command, Refund | RecordOrderRefund) and s.command.takes_out
    ]


def _order_id_at(facts: Facts, platform: str) -> str:
    """The order's id on a mirror, empty where that system does not hold the order."""
    return next((m.order_id for m in facts.mirrors if m.platform == platform), "")


def _plan_money(
    sheet: _Sheet,
    facts: Facts,
    decision: Decision,
    first: tuple[StepKey, ...],
    reason: str,
    taker: _Taker | None,
    alive: list[Step],
) -> list[tuple[StepKey, bool]]:
    """One step per payment: a void where nothing was captured, else a refund by that payment's one payer. The first refund by
    the order platform itself names the units; refunds on one order platform go one after another, as shops demand.
    """
    keys: list[tuple[StepKey, bool]] = []
    before: list[StepKey] = []
    order = facts.order
    is_named = False
    task = (
        f"Give back what was paid for order {order.number}: {order.platform} does not know how. Cancelled were: "
        f"{_items_as_text(_items(order, decision.lines))}. "
    )
    if not order.knows_payments and decision.lines and not _is_asked(alive, task):
        proof = 'Afterwards resolve this task with the refund\'s number, or with "not paid", as proof.'
        _human(sheet, order.platform, f"{task}{_by_when(decision)} {proof}", None, needs=first)
    for share in decision.shares:
        money = share.amount
        if share.fallback == "there" and any(
            isinstance(s.command, HumanTask) and s.command.payment_reference == share.reference
            for s in sheet.steps
        ):
            continue  # the task that cancels there returns it too
        if share.obstacle or not share.platform:
            step = _pay_by_hand(sheet, facts, decision, share, first)
            keys.append((step.step_key, False))
            continue
        if share.is_void and share.platform == order.platform and order.releases_authorisations:
            continue  # the order platform releases its own authorisation with the cancel
        key = sheet.mint(StepKind.REFUND)
        payment_id = payment_id_of(share.platform, share.reference)
        is_own = share.platform == order.platform
        command: AnyCommand
        if share.is_void:
            command = VoidPayment(
                step_key=key,
                key=wire_key(key, 1),
                order_id=order.order_id,
                payment_reference=share.reference,
                amount=money,
            )
        else:
            names_units = is_own and not is_named and not share.replaces
            command = Refund(
                step_key=key,
                key=wire_key(key, 1),
                order_id=order.order_id,
                order_number=order.number,
                payment_reference=share.reference,
                gateway=share.gateway,
                amount=money,
                reason=reason,
                replaces=share.replaces,
                lines=decision.lines if names_units else (),
                takes_out=names_units and taker is not None,
                restock=names_units and taker is not None and taker.restock,
                is_whole=names_units and decision.is_whole,
            )
            is_named = is_named or names_units
        sheet.add(
            key,
            StepKind.REFUND,
            share.platform,
            command,
            "effects",
            needs=first,
            follows=before if is_own else (),
            amount=money,
            payment_id=payment_id,
        )
        if is_own:
            before = [key]
        keys.append((key, not share.is_void))
    return keys


def _pay_by_hand(
    sheet: _Sheet, facts: Facts, decision: Decision, share: PaymentShare, first: tuple[StepKey, ...]
) -> Step:
    """A person gives back what no payer of ours can."""
    number = facts.order.number
    if share.fallback == "there":
        text = f"Give back {share.amount} for order {number} in {share.platform}, and nowhere else. {share.obstacle}."
    elif share.obstacle:
        what = "Give the customer a store credit of" if share.fallback == "store_credit" else "Give back"
        text = (
            f"{what} {share.amount} for order {number} by another way: {share.platform or share.gateway} cannot return it on "
            f"payment {share.reference}, because {share.obstacle}."
        )
    else:
        text = (
            f"Give back {share.amount} by hand: order {number} was paid through '{share.gateway}', and no payer is set for "
            f"that gateway. Payment: {share.reference}."
        )
    return _human(
        sheet,
        share.gateway or share.platform,
        f"{text} {_by_when(decision)} Afterwards resolve this task with the refund's number as proof.",
        share.amount,
        needs=first,
        payment_reference=share.reference,
    )


def _plan_record(
    sheet: _Sheet,
    facts: Facts,
    decision: Decision,
    first: tuple[StepKey, ...],
    refunds: list[StepKey],
    reason: str,
    taker: _Taker | None,
    alive: list[Step],
) -> StepKey | None:
    """The refunds that others pay, written down on the order where its platform wants that, once for all of them; and where
    a refund document takes the units out, this one does it if no refund of the platform's own did.
    """
    order = facts.order
    if not order.records_refunds:
        return None
    elsewhere = [
        s for s in sheet.steps if s.step_key in refunds and s.platform != order.platform and s.amount
    ]
    carries = taker is not None and not _takers(sheet)
    total = sum(s.amount.minor for s in elsewhere if s.amount)
    if not total:
        task = (
            f"Take out of order {order.number} in {order.platform}: {_items_as_text(_items(order, decision.lines))}. Nothing was "
            "paid for them here, so no refund does it. "
        )
        if carries and not _is_asked(alive, task):
            text = f"{task}{_by_when(decision)} Afterwards resolve this task."
            _human(sheet, order.platform, text, None, needs=first, lines=decision.lines)
        return None
    key = sheet.mint(StepKind.POST_LEDGER)
    money = Money(total, order.currency)
    command = RecordOrderRefund(
        step_key=key,
        key=wire_key(key, 1),
        order_id=order.order_id,
        order_number=order.number,
        amount=money,
        reason=reason,
        lines=decision.lines if carries or not _names_units(sheet) else (),
        takes_out=carries,
        restock=carries and taker is not None and taker.restock,
        is_whole=decision.is_whole and not _names_units(sheet),
    )
    return sheet.add(
        key,
        StepKind.POST_LEDGER,
        order.platform,
        command,
        "books",
        needs=[*first, *(s.step_key for s in elsewhere)],
        follows=[s.step_key for s in sheet.steps if s.step_key in refunds and s.platform == order.platform],
        uses=tuple((f"refund_reference.{n}", s.step_key) for n, s in enumerate(elsewhere, start=1)),
        amount=money,
    )


def _names_units(sheet: _Sheet) -> bool:
    """Whether a refund of the order platform's own names the units already."""
    return any(isinstance(s.command, Refund) and s.command.lines for s in sheet.steps)


def _open_note(existing: tuple[Step, ...]) -> Step | None:
    """The credit note that an earlier refund left open when it failed late: the next refund is paid on it, and no
    second note is written.
    """
    if not any(s.action == "refund" and s.state is StepState.REVERSED for s in existing):
        return None
    notes = [s for s in existing if isinstance(s.command, CreditNote) and s.state is StepState.SUCCEEDED]
    return notes[-1] if notes else None


def _plan_payments_on(sheet: _Sheet, routing: Routing, note: Step, refunds: list[StepKey]) -> list[StepKey]:
    """The cash refunds on a credit note that exists."""
    return [
        _record_refund(sheet, routing, note.step_key, step.step_key, step.amount, needs=[step.step_key])
        for step in list(sheet.steps)
        if step.step_key in refunds and step.amount is not None
    ]


def _record_refund(
    sheet: _Sheet,
    routing: Routing,
    note_key: StepKey,
    refund_key: StepKey,
    amount: Money,
    needs: list[StepKey],
) -> StepKey:
    key = sheet.mint(StepKind.POST_LEDGER)
    return sheet.add(
        key,
        StepKind.POST_LEDGER,
        routing.books,
        RecordRefund(
            step_key=key, key=wire_key(key, 1), amount=amount, account_code=routing.refund_account_code
        ),
        "books",
        needs=needs,
        uses=(("credit_note_id", note_key), ("refund_reference", refund_key)),
        amount=amount,
    )


def _plan_books(
    sheet: _Sheet,
    facts: Facts,
    routing: Routing,
    planned: list[Step],
    refunds: list[StepKey],
    first: tuple[StepKey, ...],
    alive: list[Step],
    decision: Decision,
) -> list[StepKey]:
    """What the sales document's state asks for: void it; or a credit note with allocation and payment; or refund receipts.

    Each write is its own step. Notes and receipts wait for the money: the books never say "refunded" first.
    """
    invoice = facts.invoice
    if invoice is None or not routing.books or invoice.state is InvoiceState.VOIDED:
        return []
    if any(isinstance(s.command, VoidInvoice) for s in alive):
        return []
    # Notes and allocations of this case that the invoice does not show yet.
    waiting = [s for s in alive if s.state is not StepState.SUCCEEDED and s.amount is not None]
    noted = sum(s.amount.minor for s in waiting if isinstance(s.command, CreditNote) and s.amount)
    allocated = sum(s.amount.minor for s in waiting if isinstance(s.command, AllocateCredit) and s.amount)
    amounts = {s.step_key: s.amount for s in planned if s.step_key in refunds and s.amount is not None}
    refunded = sum(a.minor for a in amounts.values())
    currency = invoice.total.currency
    by_receipt = invoice.refunded_by is RefundedBy.RECEIPT
    untouched = invoice.paid.minor == 0 and invoice.credited.minor == 0 and not noted
    # A receipt for money that was never taken, because its authorisation is released, is no sale either.
    was_charged = any(p.captured.minor for p in facts.payments)
    never_sold = by_receipt and not was_charged and invoice.credited.minor == 0 and not noted
    if decision.is_whole and (untouched or never_sold) and not refunded:
        key = sheet.mint(StepKind.POST_LEDGER)
        voiding = VoidInvoice(step_key=key, key=wire_key(key, 1), invoice=invoice)
        return [sheet.add(key, StepKind.POST_LEDGER, routing.books, voiding, "books", needs=first)]
    if any(a.currency != currency for a in amounts.values()):
        _human(
            sheet,
            routing.books,
            f"Book the refund by hand: invoice {invoice.number} is in {currency}, the refunds are not.",
            None,
            needs=refunds,
        )
        return []
    # What is still due on the invoice is forgiven by the note; what was paid is given back in cash.
    room = max(0, invoice.total.minor - invoice.credited.minor - noted)
    still_due = max(0, min(invoice.due.minor - allocated, room - refunded)) if decision.is_whole else 0
    noted_now = still_due if by_receipt else refunded + still_due
    if (noted_now == 0 and not refunded) or invoice.state is InvoiceState.DRAFT:
        return []
    if by_receipt:
        return [
            *(_receipt(sheet, facts, routing, invoice, key, a, decision) for key, a in amounts.items()),
            *([_note(sheet, facts, routing, invoice, noted_now, first, decision)] if noted_now else []),
        ]
    note_key = _note(sheet, facts, routing, invoice, noted_now, (*first, *refunds), decision)
    keys = [note_key]
    if still_due and invoice.is_allocated:
        key = sheet.mint(StepKind.POST_LEDGER)
        part = Money(still_due, currency)
        keys.append(
            sheet.add(
                key,
                StepKind.POST_LEDGER,
                routing.books,
                AllocateCredit(
                    step_key=key, key=wire_key(key, 1), invoice_id=invoice.invoice_id, amount=part
                ),
                "books",
                needs=[note_key],
                uses=(("credit_note_id", note_key),),
                amount=part,
            )
        )
    keys += [
        _record_refund(sheet, routing, note_key, refund_key, amount, needs=[note_key])
        for refund_key, amount in amounts.items()
    ]
    return keys


def _note(
    sheet: _Sheet,
    facts: Facts,
    routing: Routing,
    invoice: InvoiceFacts,
    minor: int,
    needs: Iterable[StepKey],
    decision: Decision,
) -> StepKey:
    key = sheet.mint(StepKind.POST_LEDGER)
    money = Money(minor, invoice.total.currency)
    note = CreditNote(
        step_key=key,
        key=wire_key(key, 1),
        invoice=invoice,
        amount=money,
        number=f"CN-{key.replace('.post_ledger.', '-')}",
        memo=f"Order {facts.order.number} cancelled",
        items=_items(facts.order, decision.lines),
        # Units that the books hold as sold come back with the note, unless a cancel there frees them.
        restock=routing.stock_owner == routing.books
        and _is_taken_back_by_note(facts, routing)
        and bool(decision.lines),
    )
    return sheet.add(key, StepKind.POST_LEDGER, routing.books, note, "books", needs=needs, amount=money)


def _plan_left_in_books(
    sheet: _Sheet,
    facts: Facts,
    decision: Decision,
    routing: Routing,
    first: tuple[StepKey, ...],
    alive: list[Step],
) -> None:
    """Units that the books hold as sold, and that no document of this plan takes back (nothing was paid for them): a person."""
    written = any(isinstance(s.command, CreditNote | VoidInvoice) for s in (*sheet.steps, *alive))
    if written or decision.is_return or facts.order.cancelled_at is not None or not decision.lines:
        return
    for mirror in facts.mirrors:
        if mirror.platform != routing.books or mirror.cancels is not TakesBack.REFUND or mirror.cancelled_at:
            continue
        task = (
            f"Take out of order {mirror.number} in {mirror.platform}, which holds it as sold: "
            f"{_items_as_text(_items(facts.order, decision.lines))}. "
        )
        if not _is_asked(alive, task):
            proof = "Afterwards resolve this task with the document's number as proof."
            _human(sheet, mirror.platform, f"{task}{_by_when(decision)} {proof}", None, needs=first)


def _is_taken_back_by_note(facts: Facts, routing: Routing) -> bool:
    """Whether the books hold the order as sold, so that their credit note takes it back."""
    return any(m.platform == routing.books and m.cancels is TakesBack.REFUND for m in facts.mirrors)


def _receipt(
    sheet: _Sheet,
    facts: Facts,
    routing: Routing,
    invoice: InvoiceFacts,
    refund_key: StepKey,
    amount: Money,
    decision: Decision,
) -> StepKey:
    """A refund receipt of its own for one refund."""
    key = sheet.mint(StepKind.POST_LEDGER)
    command = RecordRefund(
        step_key=key,
        key=wire_key(key, 1),
        amount=amount,
        account_code=routing.refund_account_code,
        invoice=invoice,
        number=f"RR-{key.replace('.post_ledger.', '-')}",
        memo=f"Order {facts.order.number} cancelled",
        items=_items(facts.order, decision.lines),
    )
    return sheet.add(
        key,
        StepKind.POST_LEDGER,
        routing.books,
        command,
        "books",
        needs=[refund_key],
        uses=(("refund_reference", refund_key),),
        amount=amount,
    )
