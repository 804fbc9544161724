"""Builders of orders, payments, invoices and steps, and random ones for properties. Amounts in EUR cents unless said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from refundflow.domain.commands import SendMessage
from refundflow.domain.facts import (
    DisputeState,
    Facts,
    InvoiceFacts,
    InvoiceState,
    OrderFacts,
    OrderLine,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
)
from refundflow.domain.ids import CaseId, StepKey
from refundflow.domain.money import Money
from refundflow.domain.plan import Routing
from refundflow.domain.policy import Policy
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind

NOW: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)
CASE: Final = CaseId("RF-01JQZ7K3M0ABCDE")
#: Approves whatever the facts allow, so that a test can look at amounts and steps.
GENEROUS: Final = Policy(auto_approve_limit=(("EUR", 10**9),), window_h=10**6)
#: Tells everybody: customer, staff and books.
FULL: Final = Routing(
    books="xero",
    customer_channel="mailgun",
    staff_channel="slack",
    staff_to="C0123",
    refund_account_code="090",
    payers=(("shopify_payments", "shopify"), ("stripe", "stripe")),
)


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def a_line(
    line_id: str = "A",
    quantity: int = 1,
    *,
    shipped: int = 0,
    unit: int = 1000,
    refundable: int | None = None,
) -> OrderLine:
    """One line; `shipped` units of it are fulfilled, the rest can be cancelled."""
    return OrderLine(
        line_id=line_id,
        sku=f"sku-{line_id}",
        title=f"Item {line_id}",
        quantity=quantity,
        unfulfilled=quantity - shipped,
        refundable=quantity if refundable is None else refundable,
        unit=eur(unit),
    )


def an_order(*lines: OrderLine, age_h: float = 1.0, **changes: Any) -> OrderFacts:
    """An order at Shopify, `age_h` hours old."""
    lines = lines or (a_line(),)
    order = OrderFacts(
        platform="shopify",
        order_id="450789469",
        number="#1001",
        created_at=NOW - timedelta(hours=age_h),
        currency="EUR",
        total=eur(sum(line.unit.minor * line.quantity for line in lines)),
        email="ada@shop.example",
        lines=lines,
        payments=(),
    )
    return replace(order, **changes)


def captured(
    minor: int,
    reference: str = "pay_1",
    *,
    platform: str = "shopify",
    gateway: str = "shopify_payments",
    currency: str = "EUR",
    refunds: tuple[RefundFact, ...] = (),
    dispute: DisputeState = DisputeState.NONE,
) -> PaymentFacts:
    """A payment that was taken in full."""
    return PaymentFacts(
        platform=platform,
        reference=reference,
        state=PaymentState.CAPTURED,
        authorised=Money(0, currency),
        captured=Money(minor, currency),
        refunds=refunds,
        dispute=dispute,
        gateway=gateway,
    )


def authorised(
    minor: int, reference: str = "pay_1", *, platform: str = "stripe", gateway: str = "stripe"
) -> PaymentFacts:
    """A payment that was promised and not taken."""
    return PaymentFacts(
        platform=platform,
        reference=reference,
        state=PaymentState.AUTHORISED,
        authorised=eur(minor),
        captured=eur(0),
        gateway=gateway,
    )


def refunded(minor: int, status: RefundStatus = RefundStatus.SUCCEEDED, *, step_key: str = "") -> RefundFact:
    return RefundFact(reference=f"re_{minor}_{status}", amount=eur(minor), status=status, step_key=step_key)


def an_invoice(
    total: int = 1000, *, paid: int = 0, credited: int = 0, state: InvoiceState = InvoiceState.OPEN
) -> InvoiceFacts:
    """The order's invoice in the books; what was neither paid nor credited is due."""
    return InvoiceFacts(
        platform="xero",
        invoice_id="inv-1",
        number="1001",
        state=state,
        contact_id="contact-1",
        total=eur(total),
        due=eur(total - paid - credited),
        paid=eur(paid),
        credited=eur(credited),
        lines=(),
    )


def facts_of(order: OrderFacts, *payments: PaymentFacts, **more: Any) -> Facts:
    return Facts(read_at=NOW, order=order, payments=payments, **more)


def a_step(**changes: Any) -> Step:
    """A message's step, planned and not released."""
    key = StepKey(f"{CASE}.notify.1")
    step = Step(
        step_key=key,
        case_id=CASE,
        number=0,
        kind=StepKind.NOTIFY,
        action="send_message",
        platform="mailgun",
        command=SendMessage(step_key=key, key="k", to="a@b.example", template="t", subject="", text=""),
        state=StepState.PLANNED,
    )
    return replace(step, **changes)


def in_state(steps: list[Step], state: StepState, *kinds: StepKind) -> list[Step]:
    """The steps with those of the given kinds (all, where none is given) in another state."""
    return [replace(s, state=state) if not kinds or s.kind in kinds else s for s in steps]


# ------------------------------------------------------------------------------------------------ random ones

_GATEWAYS = {"shopify_payments": "shopify", "stripe": "stripe", "cash": ""}


@st.composite
def random_lines(draw: st.DrawFn) -> tuple[OrderLine, ...]:
    lines = []
    for number in range(draw(st.integers(1, 4))):
        quantity = draw(st.integers(0, 4))
        lines.append(
            a_line(
                f"L{number}",
                quantity,
                shipped=draw(st.integers(0, quantity)),
                unit=draw(st.integers(0, 5000)),
                refundable=draw(st.integers(0, quantity)),
            )
        )
    return tuple(lines)


@st.composite
def random_payment(draw: st.DrawFn, reference: str, gateways: tuple[str, ...]) -> PaymentFacts:
    gateway = draw(st.sampled_from(gateways))
    state = draw(st.sampled_from(PaymentState))
    sum_of = draw(st.integers(0, 20_000))
    refunds = draw(
        st.lists(
            st.builds(
                refunded,
                st.integers(1, 8000),
                st.sampled_from(RefundStatus),
                step_key=st.sampled_from(["", f"{CASE}.refund.99"]),
            ),
            max_size=2,
        )
    )
    is_captured = state is PaymentState.CAPTURED
    return PaymentFacts(
        platform=_GATEWAYS[gateway],
        reference=reference,
        state=state,
        authorised=eur(sum_of if state is PaymentState.AUTHORISED else 0),
        captured=eur(sum_of if is_captured else 0),
        refunds=tuple(refunds) if is_captured else (),
        dispute=draw(st.sampled_from([DisputeState.NONE, *DisputeState])),
        gateway=gateway,
    )


@st.composite
def random_facts(
    draw: st.DrawFn,
    gateways: tuple[str, ...] = ("shopify_payments", "stripe", "cash"),
    *,
    has_books: bool = True,
) -> Facts:
    """Any order with up to four payments in any state, disputed, refunded or not; quoted; perhaps invoiced."""
    order = an_order(
        *draw(random_lines()),
        cancelled_at=draw(st.sampled_from([None, None, NOW])),
        is_return_open=draw(st.booleans()),
    )
    payments = [draw(random_payment(f"pay_{n}", gateways)) for n in range(draw(st.integers(0, 4)))]
    invoice = None
    if has_books and draw(st.booleans()):
        total = draw(st.integers(0, 20_000))
        paid = draw(st.integers(0, total))
        invoice = an_invoice(
            total,
            paid=paid,
            credited=draw(st.integers(0, total - paid)),
            state=draw(st.sampled_from(InvoiceState)),
        )
    return facts_of(order, *payments, quote=eur(draw(st.integers(0, 20_000))), invoice=invoice)
