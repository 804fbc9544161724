"""One sample command (or arguments) per capability, the same for every connector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from refundflow.connectors.base import Capability
from refundflow.domain.commands import (
    AllocateCredit,
    AnyCommand,
    CancelLines,
    CancelOrder,
    CommentTicket,
    CreditNote,
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
    InvoiceFacts,
    InvoiceLine,
    InvoiceState,
    LineQuantity,
    OrderFacts,
    OrderLine,
    OrderRef,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.money import Money

STEP_KEY: Final = StepKey("RF-00K3ZQ4M7ABCDEF.refund.1")
KEY: Final = wire_key(STEP_KEY, 1)
AMOUNT: Final = Money(4250, "EUR")
LINES: Final = (LineQuantity("501", 1),)
REF: Final = OrderRef("shopify", "6001", "#1042")

ORDER: Final = OrderFacts(
    platform="shopify",
    order_id="6001",
    number="#1042",
    created_at=datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
    currency="EUR",
    total=AMOUNT,
    email="ada@shop.example",
    lines=(OrderLine("501", "SKU-1", "Kettle", 1, 1, 1, AMOUNT),),
    payments=(),
)

INVOICE: Final = InvoiceFacts(
    platform="books",
    invoice_id="8a1f0c1e-0000-4000-8000-000000000001",
    number="INV-1042",
    state=InvoiceState.OPEN,
    contact_id="8a1f0c1e-0000-4000-8000-000000000002",
    total=AMOUNT,
    due=AMOUNT,
    paid=Money(0, "EUR"),
    credited=Money(0, "EUR"),
    lines=(InvoiceLine("Kettle", AMOUNT, "200", "OUTPUT"),),
    line_amount_types="Inclusive",
)

COMMANDS: Final[Mapping[Capability, AnyCommand]] = {
    Capability.CANCEL_ORDER: CancelOrder(
        step_key=STEP_KEY, key=KEY, order_id="6001", reason="customer", restock=True
    ),
    Capability.CANCEL_LINES: CancelLines(
        step_key=STEP_KEY, key=KEY, order_id="6001", currency="EUR", lines=LINES, restock=True
    ),
    Capability.RESTOCK: Restock(
        step_key=STEP_KEY, key=KEY, order_id="6001", currency="EUR", lines=LINES, location="71"
    ),
    Capability.REFUND: Refund(
        step_key=STEP_KEY,
        key=KEY,
        order_id="6001",
        order_number="#1042",
        payment_reference="7001",
        gateway="acme_pay",
        amount=AMOUNT,
    ),
    Capability.VOID_PAYMENT: VoidPayment(
        step_key=STEP_KEY, key=KEY, order_id="6001", payment_reference="7001", amount=AMOUNT
    ),
    Capability.RECORD_ORDER_REFUND: RecordOrderRefund(
        step_key=STEP_KEY,
        key=KEY,
        order_id="6001",
        order_number="#1042",
        amount=AMOUNT,
        refund_references="re_1",
    ),
    Capability.VOID_INVOICE: VoidInvoice(step_key=STEP_KEY, key=KEY, invoice=INVOICE),
    Capability.CREDIT_NOTE: CreditNote(
        step_key=STEP_KEY, key=KEY, invoice=INVOICE, amount=AMOUNT, number="RF-1042-1", memo="order #1042"
    ),
    Capability.ALLOCATE_CREDIT: AllocateCredit(
        step_key=STEP_KEY,
        key=KEY,
        invoice_id=INVOICE.invoice_id,
        amount=AMOUNT,
        credit_note_id="8a1f0c1e-0000-4000-8000-000000000003",
    ),
    Capability.RECORD_REFUND: RecordRefund(
        step_key=STEP_KEY,
        key=KEY,
        amount=AMOUNT,
        account_code="090",
        credit_note_id="8a1f0c1e-0000-4000-8000-000000000003",
        refund_reference="re_1",
    ),
    Capability.COMMENT_TICKET: CommentTicket(
        step_key=STEP_KEY,
        key=KEY,
        case_id="RF-00K3ZQ4M7ABCDEF",
        order_number="#1001",
        template="order_cancelled",
        subject="Your order #1001 is cancelled",
        text="Your order #1001 is cancelled.",
        html="<p>Your order #1001 is cancelled.</p>",
        requester_email="ada@shop.example",
        requester_name="Ada Lovelace",
        is_public=True,
        tags=("refundflow",),
        status="solved",
    ),
    Capability.KEEP_RECORD: KeepRecord(
        step_key=STEP_KEY,
        key=KEY,
        case_id="RF-00K3ZQ4M7ABCDEF",
        title="Order #1001",
        state="complete",
        text="Order #1001 is cancelled, 42.50 EUR went back.",
        fields=(("Order", "#1001"), ("Refunded", "42.50 EUR")),
        version=7,
    ),
    Capability.SEND_MESSAGE: SendMessage(
        step_key=STEP_KEY,
        key=KEY,
        to="ada@shop.example",
        template="order_cancelled",
        subject="Your order #1042",
        text="It is cancelled.",
    ),
}

#: The arguments of the reads.
READS: Final[Mapping[Capability, tuple[Any, ...]]] = {
    Capability.READ_ORDER: (REF,),
    Capability.QUOTE_LINES: (ORDER, LINES),
    Capability.READ_PAYMENT: ("6001", "7001"),
    Capability.READ_INVOICE: ("INV-1042",),
    Capability.POLL: ("", datetime(2026, 11, 25, 12, 0, tzinfo=UTC)),
}


def command_for(capability: Capability, changes: Mapping[str, Any]) -> AnyCommand:
    """The sample command with a platform's own values (its ids look different)."""
    return replace(COMMANDS[capability], **changes)
