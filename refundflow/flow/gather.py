"""Gather: reads the facts of an order from the platforms. Reads only, with no transaction open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from refundflow.connectors.base import NoAnswer
from refundflow.domain.facts import (
    DisputeState,
    Facts,
    OrderFacts,
    OrderPayment,
    OrderRef,
    PaymentFacts,
    PaymentState,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import NotFound, Permanent, Retryable, Unknown
from refundflow.domain.plan import Routing
from refundflow.domain.policy import Wanted, scope_lines
from refundflow.flow.context import Context
from refundflow.transport.base import MaybeSentError, NotSentError


@dataclass(frozen=True, slots=True)
class ReadLater:
    """A platform did not answer: come again. `after_s`: its own hint."""

    platform: str
    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The facts cannot be had by trying again: a person must look. `reason` says what to do."""

    platform: str
    reason: str


def read_order(context: Context, ref: OrderRef) -> OrderFacts | ReadLater | Unreadable:
    """The order as its platform tells it."""
    connector = context.platforms.order_home(ref.platform)
    if connector is None:
        return Unreadable(ref.platform, f"no order platform '{ref.platform}' is configured")
    try:
        found = connector.read_order(ref)
    except (NotSentError, MaybeSentError) as error:
        return ReadLater(ref.platform, error.reason)
    if isinstance(found, OrderFacts):
        return found
    if isinstance(found, NotFound):
        return Unreadable(ref.platform, f"order {ref.number or ref.order_id} not found: {found.reason}")
    return _no_answer(ref.platform, found)


def gather(context: Context, order: OrderFacts, wanted: Wanted) -> Facts | ReadLater | Unreadable:
    """All facts of an order: its payments from their payers, the same order as its mirrors hold it, its invoice from the
    books, a quote where lines are wanted.

    Calls: what reading takes of each payment's payer, each mirror and the books, and one for the quote.
    """
    if scope_lines(order, wanted) is None:
        order = _own_stock(order, context.routing_of(order.platform))
    payments: list[PaymentFacts] = []
    for payment in order.payments:
        told = read_payment_of(context, order, payment)
        if isinstance(told, ReadLater | Unreadable):
            return told
        if all((told.platform, told.reference) != (p.platform, p.reference) for p in payments):
            payments.append(told)  # two captures of one payment are one payment to its payer
    facts = Facts(read_at=context.now(), order=order, payments=tuple(payments))
    mirrors: list[OrderFacts] = []
    routing = context.routing_of(order.platform)
    for slug in routing.mirrors:
        held = _read_mirror(context, slug, order)
        if isinstance(held, ReadLater | Unreadable):
            return held
        if held is not None:
            mirrors.append(held)
    facts = replace(facts, mirrors=tuple(mirrors))
    books = context.platforms.books.get(routing.books)
    if books is not None:
        try:
            invoice = books.read_invoice(routing.invoice_number_of(order.number))
        except (NotSentError, MaybeSentError) as error:
            return ReadLater(routing.books, error.reason)
        if isinstance(invoice, Retryable | Permanent | Unknown):
            return _no_answer(routing.books, invoice)
        if not isinstance(invoice, NotFound):
            facts = replace(facts, invoice=invoice)
    lines = scope_lines(order, wanted)
    if lines:
        try:
            home = context.platforms.order_home(order.platform)
            assert home is not None, "the order was read there"
            quote = home.quote_lines(order, lines)
        except (NotSentError, MaybeSentError) as error:
            return ReadLater(order.platform, error.reason)
        if not isinstance(quote, Money):
            return _no_answer(order.platform, quote)
        facts = replace(facts, quote=quote, quoted=lines)
    return facts


def _own_stock(order: OrderFacts, routing: Routing) -> OrderFacts:
    """One owner of each unit: an order platform that would raise its stock although another system owns it is not let do so
    before a person has looked.
    """
    if not order.restocks_itself or routing.stock_owner == order.platform or order.cancel_refusal:
        return order
    owner = routing.stock_owner or "nobody"
    return replace(
        order,
        cancel_refusal=f"its cancel puts stock back by itself, and [routing] stock_owner is {owner}: switch that off in "
        f"{order.platform}, or make it the owner",
    )


def _read_mirror(
    context: Context, slug: str, order: OrderFacts
) -> OrderFacts | ReadLater | Unreadable | None:
    """The order as another system holds it; None where that system does not know it (it was not carried over yet)."""
    connector = context.platforms.mirrors.get(slug)
    if connector is None:
        return Unreadable(slug, f"[routing] mirrors names '{slug}', which is not configured")
    try:
        found = connector.read_order(OrderRef(slug, number=order.number))
    except (NotSentError, MaybeSentError) as error:
        return ReadLater(slug, error.reason)
    if isinstance(found, OrderFacts):
        return found
    return None if isinstance(found, NotFound) else _no_answer(slug, found)


def read_payment_of(
    context: Context, order: OrderFacts, payment: OrderPayment
) -> PaymentFacts | ReadLater | Unreadable:
    """A payment of an order as its payer tells it now; as the order tells it where nobody is set to return its money."""
    payer = context.routing_of(order.platform).payer_of(payment.gateway)
    reference = payment.transaction_id if payer == order.platform else payment.provider_reference
    connector = context.platforms.payment_reader(payer)
    if connector is None or not reference:
        # Nobody is set to return money of this gateway: the plan makes a task for a person of it.
        return _as_the_order_tells(payment)
    try:
        found = connector.read_payment(order.order_id, reference)
    except (NotSentError, MaybeSentError) as error:
        return ReadLater(payer, error.reason)
    if isinstance(found, PaymentFacts):
        return replace(found, gateway=payment.gateway, tender=payment.tender)
    if isinstance(found, NotFound):
        return Unreadable(
            payer, f"payment {reference} of order {order.number} is not known at {payer}: {found.reason}"
        )
    return _no_answer(payer, found)


def _as_the_order_tells(payment: OrderPayment) -> PaymentFacts:
    nothing = Money(0, payment.amount.currency)
    return PaymentFacts(
        platform="",
        reference=payment.provider_reference or payment.transaction_id,
        state=PaymentState.CAPTURED if payment.is_captured else PaymentState.AUTHORISED,
        authorised=nothing if payment.is_captured else payment.amount,
        captured=payment.amount if payment.is_captured else nothing,
        dispute=DisputeState.NONE,
        gateway=payment.gateway,
        tender=payment.tender,
    )


def _no_answer(platform: str, answer: NoAnswer) -> ReadLater | Unreadable:
    match answer:
        case Retryable(reason=reason, after_s=after_s):
            return ReadLater(platform, reason, after_s)
        case Unknown(reason=reason):
            return ReadLater(platform, reason)
        case Permanent(code=code, reason=reason):
            return Unreadable(platform, f"{code}: {reason}")
