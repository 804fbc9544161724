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
    CreditNote,
    RecordRefund,
    Refund,
    Restock,
    SendMessage,
    VoidInvoice,
    VoidPayment,
)
from refundflow.domain.facts import Facts, InvoiceState
from refundflow.domain.ids import CaseId, PaymentId, StepKey, mint_step_key, wire_key
from refundflow.domain.money import Money
from refundflow.domain.policy import Decision, MoneyUnderway, Underway, Verdict
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind


@dataclass(frozen=True, slots=True)
class Routing:
    """Who does what. Platform slugs; empty: nobody.

    `order_platform`: where orders live; `payers`: (gateway name, payer) pairs: who returns the money of a payment that
    came through that gateway; `stock_owner`: who puts units back ("" when nobody should); `stock_location`: where it puts
    them, as it calls the place (needed for parts of an order where the platform does not choose itself); `books`, `customer_channel`,
    `staff_channel`: which connector; `staff_to`: the staff channel's address; `refund_account_code`: the bank or
    clearing account in the books that refunds are paid from; `messages`: the customer messages that the shop sends.
    """

    order_platform: str = "shopify"
    payers: tuple[tuple[str, str], ...] = (("shopify_payments", "shopify"), ("stripe", "stripe"))
    stock_owner: str = "shopify"
    stock_location: str = ""
    books: str = ""
    customer_channel: str = ""
    staff_channel: str = ""
    staff_to: str = ""
    refund_account_code: str = ""
    invoice_number: str = "{number}"
    messages: tuple[str, ...] = ("cancellation_received", "order_cancelled", "refund_sent", "nothing_charged")

    def payer_of(self, gateway: str) -> str:
        """The one party that returns money of this gateway; empty where the shop has not said."""
        return dict(self.payers).get(gateway, "")

    def invoice_number_of(self, order_number: str) -> str:
        """The sales invoice's number in the books: the pattern with the order's number, without a leading `#`."""
        return self.invoice_number.replace("{number}", order_number.lstrip("#"))


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
    VoidInvoice: "void_invoice",
    CreditNote: "credit_note",
    AllocateCredit: "allocate_credit",
    RecordRefund: "record_refund",
    SendMessage: "send_message",
}


def payment_id_of(platform: str, reference: str) -> PaymentId:
    return PaymentId(f"{platform}:{reference}")


def underway_of(existing: Iterable[Step]) -> Underway:
    """What the steps of a case did or are doing, for the next decision. A dead step counts: its intention stands, and
    whoever replays it carries it out; a skipped or discarded one does not.
    """
    alive = [s for s in existing if s.state not in (StepState.SKIPPED, StepState.REVERSED)]
    taken = [(s.state, s.command.lines) for s in alive if isinstance(s.command, CancelLines)]
    replaced = {s.command.replaces for s in alive if isinstance(s.command, Refund)}
    return Underway(
        taken=tuple(line for _, lines in taken for line in lines),
        pending=tuple(line for state, lines in taken if state is not StepState.SUCCEEDED for line in lines),
        money=tuple(m for s in alive if (m := _money_of(s)) is not None),
        failed=tuple(
            m
            for s in existing
            if s.state is StepState.REVERSED
            and s.step_key not in replaced
            and (m := _money_of(s)) is not None
        ),
    )


def _money_of(step: Step) -> MoneyUnderway | None:
    """The money that a step gives back: a refund, a void, or a person's task about a payment."""
    if step.amount is None:
        return None
    match step.command:
        case Refund(payment_reference=reference) | VoidPayment(payment_reference=reference):
            return MoneyUnderway(step.platform, reference, step.amount.minor, step.step_key)
        case SendMessage(to=reference) if step.kind is StepKind.HUMAN_TASK and reference:
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
    return sheet.steps


def tell_staff(case_id: CaseId, routing: Routing, existing: Iterable[Step]) -> list[Step]:
    """A report to the staff channel on how the case stands now."""
    sheet = _sheet(case_id, existing)
    if routing.staff_channel:
        _message(sheet, routing.staff_channel, routing.staff_to, "case_report", "tell")
    return sheet.steps


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
    restock = _plan_restock(sheet, facts, decision, routing, first, alive)
    money = _plan_money(sheet, facts, decision, first, reason)
    refunds = [key for key, is_refund in money if is_refund]
    note = _open_note(existing)
    books = (
        _plan_payments_on(sheet, routing, note, refunds)
        if note is not None and refunds
        else _plan_books(sheet, facts, routing, sheet.steps, refunds, first, alive, decision)
    )

    if _tells(routing, "order_cancelled", facts) and first and not _has_message(alive, "order_cancelled"):
        _message(sheet, routing.customer_channel, order.email, "order_cancelled", "effects", needs=first)
    if _tells(routing, "refund_sent", facts) and refunds:
        _message(sheet, routing.customer_channel, order.email, "refund_sent", "tell", needs=refunds)
    was_charged = any(p.captured.minor for p in facts.payments)
    if (
        _tells(routing, "nothing_charged", facts)
        and not was_charged
        and any(x.is_void for x in decision.shares)
    ):
        voids = [key for key, _ in money] or list(first)
        if voids and not _has_message(alive, "nothing_charged"):
            _message(sheet, routing.customer_channel, order.email, "nothing_charged", "tell", needs=voids)
    if routing.staff_channel and sheet.steps:
        waits = [*first, *([restock] if restock else []), *(key for key, _ in money), *books]
        _message(sheet, routing.staff_channel, routing.staff_to, "case_report", "tell", follows=waits)
    return sheet.steps


def _sheet(case_id: CaseId, existing: Iterable[Step]) -> _Sheet:
    counts: dict[StepKind, int] = {}
    for step in existing:
        counts[step.kind] = counts.get(step.kind, 0) + 1
    return _Sheet(case_id, counts)


def _tells(routing: Routing, template: str, facts: Facts) -> bool:
    return bool(routing.customer_channel and facts.order.email and template in routing.messages)


def _has_message(steps: Iterable[Step], template: str) -> bool:
    return any(isinstance(s.command, SendMessage) and s.command.template == template for s in steps)


def _message(
    sheet: _Sheet,
    platform: str,
    to: str,
    template: str,
    wave: str,
    needs: Iterable[StepKey] = (),
    follows: Iterable[StepKey] = (),
) -> None:
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
) -> Step:
    """`payment_reference`: the payment whose money the person gives back, where the task is about one."""
    key = sheet.mint(StepKind.HUMAN_TASK)
    command = SendMessage(
        step_key=key, key=wire_key(key, 1), to=payment_reference, template="human_task", subject="", text=text
    )
    sheet.add(
        key,
        StepKind.HUMAN_TASK,
        platform,
        command,
        "effects",
        needs=needs,
        amount=amount,
        action="human_task",
    )
    return sheet.steps[-1]


def _plan_cancel(
    sheet: _Sheet, facts: Facts, decision: Decision, routing: Routing, alive: list[Step], reason: str
) -> tuple[StepKey, ...]:
    """The cancel that this plan's money and stock wait for: one planned here, or the whole order's that exists."""
    order = facts.order
    if decision.is_return or order.cancelled_at is not None:
        return ()
    whole = next((s for s in alive if isinstance(s.command, CancelOrder)), None)
    if whole:
        return (whole.step_key,)
    if not decision.lines and not decision.is_whole:
        return ()
    key = sheet.mint(StepKind.CANCEL_ORDER)
    restock = routing.stock_owner == order.platform
    command: AnyCommand
    follows: list[StepKey] = []
    if decision.is_whole:
        command = CancelOrder(
            step_key=key, key=wire_key(key, 1), order_id=order.order_id, reason=reason, restock=restock
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
    return (sheet.add(key, StepKind.CANCEL_ORDER, order.platform, command, "cancel", follows=follows),)


def _plan_restock(
    sheet: _Sheet,
    facts: Facts,
    decision: Decision,
    routing: Routing,
    first: tuple[StepKey, ...],
    alive: list[Step],
) -> StepKey | None:
    """One owner puts each unit back. Where the order platform owns the stock, its cancel carries the restock and this
    step only proves it; the owner of a shipped order's stock waits for the decision that the goods are back.
    """
    if not routing.stock_owner or facts.order.cancelled_at is not None or not decision.lines:
        return None
    is_new_cancel = any(s.step_key in first for s in sheet.steps)
    if decision.is_return:
        if any(s.kind is StepKind.RESTOCK for s in alive):
            return None
    elif not is_new_cancel:
        return None  # the cancel exists already, and so does its restock
    key = sheet.mint(StepKind.RESTOCK)
    command = Restock(
        step_key=key,
        key=wire_key(key, 1),
        order_id=facts.order.order_id,
        currency=facts.order.currency,
        lines=decision.lines,
        carried_by=first[0] if first and routing.stock_owner == facts.order.platform else "",
        is_return=decision.is_return,
        location=routing.stock_location or facts.order.location,
    )
    return sheet.add(key, StepKind.RESTOCK, routing.stock_owner, command, "effects", needs=first)


def _plan_money(
    sheet: _Sheet,
    facts: Facts,
    decision: Decision,
    first: tuple[StepKey, ...],
    reason: str,
) -> list[tuple[StepKey, bool]]:
    """One step per payment: a void where nothing was captured, else a refund by that payment's one payer."""
    keys: list[tuple[StepKey, bool]] = []
    for share in decision.shares:
        money = share.amount
        if not share.platform:
            step = _human(
                sheet,
                share.gateway,
                f"Give back {money} by hand: order {facts.order.number} was paid through '{share.gateway}', and no payer "
                f"is set for that gateway. Payment: {share.reference}. Afterwards resolve this task with the refund's "
                "number as proof.",
                money,
                needs=first,
                payment_reference=share.reference,
            )
            keys.append((step.step_key, False))
            continue
        if share.is_void and share.platform == facts.order.platform:
            continue  # the order platform releases its own authorisation with the cancel
        key = sheet.mint(StepKind.REFUND)
        payment_id = payment_id_of(share.platform, share.reference)
        command: AnyCommand
        if share.is_void:
            command = VoidPayment(
                step_key=key,
                key=wire_key(key, 1),
                order_id=facts.order.order_id,
                payment_reference=share.reference,
                amount=money,
            )
        else:
            command = Refund(
                step_key=key,
                key=wire_key(key, 1),
                order_id=facts.order.order_id,
                order_number=facts.order.number,
                payment_reference=share.reference,
                gateway=share.gateway,
                amount=money,
                reason=reason,
                replaces=share.replaces,
            )
        sheet.add(
            key,
            StepKind.REFUND,
            share.platform,
            command,
            "effects",
            needs=first,
            amount=money,
            payment_id=payment_id,
        )
        keys.append((key, not share.is_void))
    return keys


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
    """What the sales invoice's state asks for: void it, or a credit note with allocation and payment.

    Each write is its own step. Credit notes wait for the money: the books never say "refunded" first.
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
    untouched = invoice.paid.minor == 0 and invoice.credited.minor == 0 and not noted
    if decision.is_whole and untouched and not refunded:
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
    total = refunded + still_due
    if total == 0 or invoice.state is InvoiceState.DRAFT:
        return []
    needs = [*first, *refunds]
    note_key = sheet.mint(StepKind.POST_LEDGER)
    note = CreditNote(
        step_key=note_key,
        key=wire_key(note_key, 1),
        invoice=invoice,
        amount=Money(total, currency),
        number=f"CN-{note_key.replace('.post_ledger.', '-')}",
        memo=f"Order {facts.order.number} cancelled",
    )
    keys = [
        sheet.add(
            note_key,
            StepKind.POST_LEDGER,
            routing.books,
            note,
            "books",
            needs=needs,
            amount=Money(total, currency),
        )
    ]
    if still_due:
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
