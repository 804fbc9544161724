"""Zoho Inventory: orders, stock and books of one organisation. Moves no customer money; it writes refunds down.

API v1 (https://www.zoho.com/inventory/api/v1, and the OpenAPI documents 1.0.0 that Zoho offers there, read
2026-11-25). Authorised with a refresh token that does not rotate, in the words `Zoho-oauthtoken <token>`. Scopes of
`ZohoInventory`: salesorders.READ and CREATE (a change of status is a CREATE), salesreturns.READ and CREATE,
salesreturnreceives.CREATE, creditnotes.READ and CREATE, invoices.READ and CREATE, settings.READ.

What can be done with a sales order follows from what was done with it:
nothing packed, shipped or invoiced → it is voided, which ends its reservation of stock; invoiced, paid and not shipped →
a credit note over the invoice's unshipped lines cancels them there
(https://www.zoho.com/us/inventory/kb/sales-returns/partial-order-refund.html, read 2026-11-25); shipped → a sales return,
and its receive raises the stock. Anything else is a person's.

Quirks
- No idempotency whatsoever: what is sent twice is done twice. Every write looks first, and carries the step's key where
  the look finds it: `reference_number` of credit notes and of their refunds, number and reason of a sales return, notes of
  a receive. A note's own number keeps a second one away as well, but only with `ignore_auto_number_generation`.
- Success is `code` 0; a 200 with another code is a refusal. The other codes are not published, so nothing hangs on them:
  after a refusal the object is looked up.
- Lists may ignore a filter without a word. What they return is compared here, and is read to its end.
- Parents are named in the query; in the body they are dropped silently.
- `organization_id` belongs in every query but that of the list of organisations.
- A void never touches the stock on hand, with or without `restock`: it ends a reservation, and only a confirmed order
  holds one. What an order that is not cancelled still reserves cannot be asked.
- A credit note made from an invoice with something due pays the invoice first. Where that would leave nothing to record
  the refund on, the invoice is not named as the note's parent.
- Ids are texts of digits, longer than a number holds; amounts are JSON numbers in major units, an invoice's also texts.
- At most ten access tokens may be fetched in ten minutes: workers share one. A token call that is refused answers 200.
- Accounts and API live in one data centre each, named alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final, TypeVar

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import CancelOrder, CreditNote, RecordRefund, Restock, VoidInvoice
from refundflow.domain.facts import (
    InvoiceFacts,
    InvoiceLine,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderLine,
    OrderRef,
    RefundedBy,
    TakesBack,
)
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.money import Money, exponent_of
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, split_secrets

_DOC: Final = "https://www.zoho.com/inventory/api/v1"

SPEC: Final = Spec(
    platform="zoho-inventory",
    api_version="1",
    base_url="https://www.zohoapis.com/inventory/v1",
    operations={
        Capability.READ_ORDER: Operation("GET /salesorders/{id}", Idempotency.READ, _DOC),
        Capability.QUOTE_LINES: Operation("GET /salesorders/{id}", Idempotency.READ, _DOC),
        Capability.CANCEL_ORDER: Operation("POST /salesorders/{id}/status/void", Idempotency.NATURAL, _DOC),
        Capability.RESTOCK: Operation(
            "POST /salesreturns, POST /salesreturnreceives", Idempotency.LOOKUP, _DOC
        ),
        Capability.READ_INVOICE: Operation("GET /invoices/{id}", Idempotency.READ, _DOC),
        Capability.VOID_INVOICE: Operation("POST /invoices/{id}/status/void", Idempotency.NATURAL, _DOC),
        Capability.CREDIT_NOTE: Operation("POST /creditnotes", Idempotency.LOOKUP, _DOC),
        Capability.RECORD_REFUND: Operation("POST /creditnotes/{id}/refunds", Idempotency.LOOKUP, _DOC),
        Capability.CHECK: Operation("GET /organizations", Idempotency.READ, _DOC),
        Capability.INBOUND: Operation(
            "workflow webhook",
            Idempotency.READ,
            "https://www.zoho.com/inventory/help/settings/automation.html",
        ),
    },
    # 100 calls a minute for one organisation: 20 at once and 75 after stay below in any minute. A step makes up to seven
    # calls in a row, so a small burst would stop it halfway.
    rate_per_s=1.25,
    burst=20,
    # Orders and invoices carry the customer's contacts; `invoice_url` is a payment link that needs no login.
    redact=frozenset(
        {
            "attention",
            "commented_by",
            "contact_person_name",
            "contact_persons",
            "contact_persons_associated",
            "contact_persons_details",
            "created_by_name",
            "customer_name",
            "gst_no",
            "invoice_url",
            "salesperson_name",
            "vat_reg_no",
        }
    ),
    # Several calls in a row have to end within the step's lease.
    read_s=12.0,
)

#: A write whose answer was lost is over within a minute, and then seen by every read. Earlier an absence proves nothing.
_SETTLED_S: Final = 60.0
_PAGE: Final = 200
_MOST_PAGES: Final = 10
_REFERENCE_CHARS: Final = 100
_TEXT_CHARS: Final = 100
_DESCRIPTION_CHARS: Final = 500

#: Where accounts and API of each data centre are (the API's host in Canada is not confirmed by any source).
DATA_CENTRES: Final[Mapping[str, tuple[str, str]]] = {
    **{
        ending: (f"https://accounts.zoho.{ending}", f"https://www.zohoapis.{ending}/inventory/v1")
        for ending in ("com", "eu", "in", "com.au", "jp", "sa", "com.cn")
    },
    "ca": ("https://accounts.zohocloud.ca", "https://www.zohoapis.ca/inventory/v1"),
}

_NO_SECRET: Final = Secret()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A self client of one organisation. `refresh_token`: from the API console's one-time code; `organization_id`: digits;
    `data_centre`: where the account lives (`com`, `eu`, `in`, `com.au`, `jp`, `sa`, `com.cn`, `ca`), from which follow
    `base_url` (with `/inventory/v1`) and `accounts_url`, unless they are set.

    For the flag webhook: `webhook_secret`: what the workflow rule sends in the header `webhook_header` (several with commas
    between them while one is being rotated); `flag_field`: the label of the custom field that holds the flag, or `status`;
    `order_platform`: where the flagged orders live (empty: here).

    Raises ValueError for a data centre or organisation that cannot be one.
    """

    client_id: str
    client_secret: Secret
    refresh_token: Secret
    organization_id: str
    webhook_secret: Secret = _NO_SECRET
    webhook_header: str = "X-Webhook-Secret"
    flag_field: str = "Inventory flag"
    order_platform: str = ""
    data_centre: str = "com"
    base_url: str = ""
    accounts_url: str = ""

    def __post_init__(self) -> None:
        if self.data_centre not in DATA_CENTRES:
            raise ValueError(f"data_centre {self.data_centre!r} is none of {', '.join(DATA_CENTRES)}")
        if not is_id(self.organization_id):
            raise ValueError("organization_id is a text of digits")

    @property
    def api(self) -> str:
        return self.base_url or DATA_CENTRES[self.data_centre][1]

    @property
    def accounts(self) -> str:
        return self.accounts_url or DATA_CENTRES[self.data_centre][0]


def today_utc() -> date:
    """Today in UTC: at most one day away from the organisation's own date."""
    return datetime.now(UTC).date()


def build(credentials: Credentials, wire: Wire, today: Callable[[], date] = today_utc) -> ZohoInventory:
    """The connector on a wire. `today`: the date that returns, notes and refunds are booked on."""
    door = wire.http(
        platform=SPEC.platform,
        base_url=credentials.accounts,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        redact=SPEC.redact,
    )
    tokens = wire.refreshed_tokens(
        door,
        lambda refresh_token: token_request(credentials, refresh_token),
        shared_as=SPEC.platform,
        refresh_token=credentials.refresh_token.reveal(),
    )
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.api,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        tokens=tokens,
        token_format="Zoho-oauthtoken {}",  # noqa: S106  (how the header is written, not a secret)
        redact=SPEC.redact,
    )
    return ZohoInventory(http, credentials.organization_id, today)


def token_request(credentials: Credentials, refresh_token: str) -> Request:
    return Request(
        "POST",
        "/oauth/v2/token",
        "zoho-inventory.token",
        form=(
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", credentials.client_id),
            ("client_secret", credentials.client_secret.reveal()),
        ),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Wire types


@dataclass(frozen=True, slots=True)
class Refusal:
    """Zoho's explicit no: it did nothing. `reason`: its message, for people; nothing hangs on `code`."""

    status: int
    code: int
    reason: str


#: Why an answer could not be had.
Trouble = Refusal | Retryable | Permanent | Unknown


@dataclass(frozen=True, slots=True)
class Line:
    """A sales order's line. `quantity`: ordered and not cancelled; `packed`: in packages, shipped ones included;
    `worth`: of all its units, after the line's discount and without tax unless the order's prices include it;
    `tax`: factor from that to what the customer owes.
    """

    line_id: str
    item_id: str
    sku: str
    name: str
    quantity: int
    packed: int
    shipped: int
    invoiced: int
    returned: int
    worth: Money
    tax: Decimal


@dataclass(frozen=True, slots=True)
class OrderInvoice:
    """An invoice as its sales order shows it. `total`, `balance`: None where they cannot be read."""

    invoice_id: str
    number: str
    status: str
    total: Money | None
    balance: Money | None


@dataclass(frozen=True, slots=True)
class Order:
    """A sales order. `packages`: their numbers; `returns`: None where the answer does not say which there are;
    `goods`: what the customer owes for the lines alone, after all discounts and with tax.
    """

    order_id: str
    number: str
    reference: str
    status: str
    created_at: datetime
    modified_at: datetime
    currency: str
    total: Money
    goods: Money
    is_discounted_whole: bool
    email: str
    customer: str
    lines: tuple[Line, ...]
    packages: tuple[str, ...]
    has_shipment: bool
    invoices: tuple[OrderInvoice, ...]
    returns: tuple[Mapping[str, Any], ...] | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What can be done with a sales order now. `code`, `why`: what stands against a void (empty: nothing)."""

    takes_back: TakesBack
    code: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A credit note as a list or its own answer shows it."""

    note_id: str
    number: str
    status: str
    total: Money


@dataclass(frozen=True, slots=True)
class CreditLine:
    """Units of one invoice line that a note takes back."""

    line_id: str
    item_id: str
    quantity: int
    rate: Decimal
    tax_id: str


@dataclass(frozen=True, slots=True)
class CreditLines:
    """A whole set of them that adds up to the note's amount. `shipping`: the part of it that is the invoice's shipping."""

    lines: tuple[CreditLine, ...]
    shipping: Money | None


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class ZohoInventory:
    """One organisation: an order platform or the mirror of one, owner of the stock, and books. `today`: the date to book
    on.
    """

    spec: ClassVar[Spec] = SPEC
    http: Http
    organization_id: str
    today: Callable[[], date] = today_utc

    def check(self) -> Health:
        response = self.http.send(Request("GET", "/organizations", "zoho-inventory.check"))
        return read_health(response, self.organization_id)

    # ---------------------------------------------------------------- orders

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """By Zoho's id (one call); or by the shop's order number, which Zoho keeps as `reference_number`, else by the sales
        order's own number (three or four calls). A leading `#` makes no difference.
        """
        order_id = ref.order_id
        if not order_id:
            match self._find_order(ref.number, "read_order"):
                case str() as found:
                    order_id = found
                case no:
                    return no
        match self._order(order_id, "read_order"):
            case Order() as order:
                return order_facts(order)
            case Refusal(status=404, reason=reason):
                return NotFound(reason=reason)
            case trouble:
                return no_answer(trouble)

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """One call. Shipping is not part of it."""
        match self._order(order.order_id, "quote_lines"):
            case Order() as held:
                return quote(held, lines)
            case trouble:
                return no_answer(trouble)

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Looks first, voids, and reads the order again: three calls. Nothing is sent for an order that is packed, shipped or
        invoiced.
        """
        match self._order(command.order_id, "cancel_order"):
            case Order() as order:
                pass
            case trouble:
                return before_write(trouble)
        if order.status == VOID:
            return AlreadyDone(order.order_id)
        standing = stand(order)
        if standing.code:
            return Permanent(standing.code, standing.why)
        response = self._send(void_order_request(command.order_id))
        match read_body(response, is_write=True):
            case dict():
                return seen_after(self.find_cancel_order(command), "the order is void")
            case Refusal() as refusal:
                return settle_refusal(refusal, self.find_cancel_order, command)
            case trouble:
                return trouble

    def find_cancel_order(self, command: CancelOrder) -> Found:
        """One call. A void order does not say who voided it."""
        match self._order(command.order_id, "find_cancel_order"):
            case Order(status="void", order_id=order_id):
                return Done(order_id)
            case Order(status=status):
                return NotFound(_SETTLED_S, f"the sales order is not void but {status}")
            case trouble:
                return not_seen(trouble)

    # ---------------------------------------------------------------- stock

    def restock(self, command: Restock) -> Outcome:
        """Where another step carries it, only looks. A return is made and then received: two writes, both looked up first
        (four calls).
        """
        if command.carried_by:
            match self.find_restock(command):
                case NotFound(reason=reason):
                    return Retryable("not_there", reason, 5.0)
                case found:
                    return found
        if not command.is_return:
            return no_call_for_units(command)
        match self._order_of(command, "restock"):
            case Order() as order:
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", f"{reason}. {_ADJUST}")
            case trouble:
                return before_write(trouble)
        match self._our_return(order, command, "restock"):
            case None:
                pass
            case str() as return_id:
                return self._receive(return_id, command)
            case trouble:
                return before_write(trouble)
        match return_request(order, command, self.today()):
            case Request() as request:
                response = self._send(request)
            case Permanent() as unfit:
                return unfit
        match read_body(response, is_write=True):
            case dict() as body:
                match read_new_return(body, order.order_id):
                    case str() as return_id:
                        return self._receive(return_id, command)
                    case no:
                        return no
            case Refusal() as refusal:
                return self._settle_return(refusal, command)
            case trouble:
                return trouble

    def find_restock(self, command: Restock) -> Found:
        """A return: order, then the return itself (two calls). Carried by a void: the order. Carried by a credit note:
        its list too.
        """
        match self._order_of(command, "find_restock"):
            case Order() as order:
                pass
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case trouble:
                return not_seen(trouble)
        if command.carried_by:
            return self._find_carrier(order, command)
        match self._our_return(order, command, "find_restock"):
            case None:
                return NotFound(_SETTLED_S, f"no sales return {return_number(command)} on the sales order")
            case str() as return_id:
                pass
            case trouble:
                return not_seen(trouble)
        match self._return(return_id, "find_restock"):
            case dict() as returned:
                return judge_receives(returned, command)
            case trouble:
                return not_seen(trouble)

    # ---------------------------------------------------------------- books

    def read_invoice(self, number: str) -> InvoiceFacts | NotFound | NoAnswer:
        """By the invoice's number (two calls), else the invoice of the sales order with that number (six calls)."""
        match self._all(
            "/invoices", "invoices", "read_invoice", [("invoice_number", number)], {"invoice_number": number}
        ):
            case list() as rows:
                seen = [read_order_invoice(row, text_of(row.get("currency_code"))) for row in rows]
            case trouble:
                return no_answer(trouble)
        if not seen:
            match self._find_order(number, "read_invoice"):
                case str() as order_id:
                    pass
                case NotFound():
                    return NotFound(reason=f"no invoice and no sales order {number} in Zoho")
                case no:
                    return no
            match self._order(order_id, "read_invoice"):
                case Order() as order:
                    seen = list(order.invoices)
                case trouble:
                    return no_answer(trouble)
        live = [invoice for invoice in seen if invoice is None or invoice.status != VOID]
        match live or seen[:1]:
            case []:
                return NotFound(reason=f"sales order {number} is not invoiced in Zoho")
            case [OrderInvoice(invoice_id=invoice_id)]:
                pass
            case several if None in several:
                return Unknown("Zoho answered with an invoice that cannot be read")
            case several:
                numbers = ", ".join(invoice.number for invoice in several if invoice)
                return Permanent(
                    "ambiguous", f"several invoices in Zoho are for {number}: {numbers}. A person chooses."
                )
        match self._invoice(invoice_id, "read_invoice"):
            case dict() as invoice:
                return invoice_facts(invoice)
            case trouble:
                return no_answer(trouble)

    def void_invoice(self, command: VoidInvoice) -> Outcome:
        """Looks first, voids, and reads the invoice again: three calls. One on which anything was paid is refused here:
        Zoho would void it, and turn its payments into customer credits.
        """
        match self._invoice(command.invoice.invoice_id, "void_invoice"):
            case dict() as now:
                pass
            case trouble:
                return before_write(trouble)
        match invoice_facts(now):
            case InvoiceFacts(state=InvoiceState.VOIDED, invoice_id=invoice_id):
                return AlreadyDone(invoice_id)
            case InvoiceFacts(total=total, due=due, paid=paid, credited=credited, number=number):
                if due != total or paid.minor or credited.minor:
                    return Permanent(
                        "has_payments",
                        f"only {due} of {total} are due on invoice {number}: it cannot be voided without undoing payments or "
                        "credits. Plan the case again, so that a credit note is written.",
                    )
            case Unknown(reason=reason):
                return Retryable("unreadable", reason)
        response = self._send(void_invoice_request(command.invoice.invoice_id))
        match read_body(response, is_write=True):
            case dict():
                return seen_after(self.find_void_invoice(command), "the invoice is void")
            case Refusal() as refusal:
                return settle_refusal(refusal, self.find_void_invoice, command)
            case trouble:
                return trouble

    def find_void_invoice(self, command: VoidInvoice) -> Found:
        match self._invoice(command.invoice.invoice_id, "find_void_invoice"):
            case {"status": "void"}:
                return Done(command.invoice.invoice_id)
            case {"status": str(status)}:
                return NotFound(_SETTLED_S, f"the invoice is not void but {status}")
            case dict():
                return Unknown("Zoho answered with an invoice without a status")
            case trouble:
                return not_seen(trouble)

    def credit_note(self, command: CreditNote) -> Outcome:
        """Looks for our note, reads the invoice, and where units are named its sales order, then writes: three to five calls,
        two more where the note begins as a draft.
        """
        match self._notes([("reference_number", command.step_key)], command, "credit_note"):
            case []:
                pass
            case list() as notes:
                match pick_note(notes, command):
                    case Note(note_id=note_id):
                        return self._open_note(note_id, command)
                    case outcome:
                        return as_already(outcome)
            case trouble:
                return before_write(trouble)
        match self._invoice(command.invoice.invoice_id, "credit_note"):
            case dict() as invoice:
                pass
            case trouble:
                return before_write(trouble)
        match invoice_facts(invoice):
            case InvoiceFacts() as facts:
                if no := refuse_note(facts, command):
                    return no
            case Unknown(reason=reason):
                return Retryable("unreadable", reason)
        match self._credit_lines(invoice, facts, command):
            case CreditLines() | None as units:
                pass
            case trouble:
                return before_write(trouble)
        match note_request(invoice, facts, units, command, self.today()):
            case Request() as request:
                response = self._send(request)
            case no:
                return no
        match read_body(response, is_write=True):
            case {"creditnote": dict() as written}:
                match judge_note(read_note(written), command):
                    case Note(note_id=note_id):
                        return self._open_note(note_id, command)
                    case outcome:
                        return outcome
            case Refusal() as refusal:
                return settle_refusal(refusal, self.find_credit_note, command)
            case dict():
                return Unknown("Zoho answered without the credit note")
            case trouble:
                return trouble

    def find_credit_note(self, command: CreditNote) -> Found:
        """By our reference, then by the note's number: one or two calls. A note that is still a draft counts as not there:
        the next try finds and opens it.
        """
        match self._notes([("reference_number", command.step_key)], command, "find_credit_note"):
            case []:
                pass
            case list() as notes:
                match pick_note(notes, command):
                    case Note(number=number):
                        return NotFound(_SETTLED_S, f"credit note {number} is there as a draft")
                    case found:
                        return found
            case trouble:
                return not_seen(trouble)
        match self._notes([("creditnote_number", command.number)], command, "find_credit_note"):
            case []:
                return NotFound(_SETTLED_S, f"no credit note with our reference, none {command.number}")
            case [Note(note_id=note_id), *_]:
                return Permanent(
                    "number_taken",
                    f"credit note {command.number} exists ({note_id}) without our reference {command.step_key}: compare the "
                    "two, and set the reference if it is this one",
                )
            case list():
                return Unknown("Zoho answered with a credit note that cannot be read")
            case trouble:
                return not_seen(trouble)

    def record_refund(self, command: RecordRefund) -> Outcome:
        """Looks through the note's refunds and at the note itself, then writes: three calls. Zoho would take a second one as
        long as the note has a balance.
        """
        if not is_id(command.account_code):
            return Permanent(
                "unknown_account",
                f"{command.account_code!r} is no account of Zoho's: set [routing] refund_account_code to the id (digits) of "
                "the account that refunds are paid from",
            )
        match self._refunds(command, "record_refund"):
            case list() as refunds:
                match pick_refund(refunds, command):
                    case NotFound():
                        pass
                    case found:
                        return as_already(found)
            case trouble:
                return before_write(trouble)
        match self._note(command.credit_note_id, "record_refund"):
            case dict() as note:
                if no := refuse_refund(note, command):
                    return no
            case trouble:
                return before_write(trouble)
        response = self._send(refund_request(command, self.today()))
        match read_body(response, is_write=True):
            case {"creditnote_refund": dict() as refund}:
                return judge_refund(refund, command)
            case Refusal() as refusal:
                return settle_refusal(refusal, self.find_record_refund, command)
            case dict():
                return Unknown("Zoho answered without the refund")
            case trouble:
                return trouble

    def find_record_refund(self, command: RecordRefund) -> Found:
        match self._refunds(command, "find_record_refund"):
            case list() as refunds:
                return pick_refund(refunds, command)
            case trouble:
                return not_seen(trouble)

    # ---------------------------------------------------------------- what the capabilities are made of

    def _send(self, request: Request) -> Response:
        return self.http.send(
            replace(request, params=(("organization_id", self.organization_id), *request.params))
        )

    def _all(
        self,
        path: str,
        name: str,
        operation: str,
        filters: Iterable[tuple[str, str]],
        wanted: Mapping[str, str],
    ) -> list[dict[str, Any]] | Trouble:
        """Every object of a list, over all its pages, whose fields are the wanted ones: the filters may be ignored."""
        rows: list[dict[str, Any]] = []
        for page in range(1, _MOST_PAGES + 1):
            response = self._send(list_request(path, operation, filters, page))
            match read_page(response, name):
                case Page(rows=more, has_more=has_more):
                    rows += [row for row in more if all(row.get(n) == v for n, v in wanted.items())]
                    if not has_more:
                        return rows
                case trouble:
                    return trouble
        return Permanent(
            "list_too_long",
            f"Zoho's list {path} goes on after {_MOST_PAGES * _PAGE} rows, so its filter is not honoured: look by hand",
        )

    def _find_order(self, number: str, operation: str) -> str | NotFound | NoAnswer:
        """The id of the one sales order with this number of the shop's, else with this number of its own."""
        bare = bare_number(number)
        if not bare:
            return Permanent("no_reference", "neither an order id nor an order number was given")
        for name, spellings in (
            ("reference_number", (bare, f"#{bare}")),
            ("salesorder_number", (bare,)),
        ):
            found: dict[str, str] = {}
            for spelled in spellings:
                match self._all("/salesorders", "salesorders", operation, [(name, spelled)], {}):
                    case list() as rows:
                        pass
                    case trouble:
                        return no_answer(trouble)
                for row in rows:
                    if bare_number(text_of(row.get(name))) == bare:
                        found[text_of(row.get("salesorder_id"))] = (
                            f"{text_of(row.get('salesorder_number'))} ({text_of(row.get('status'))})"
                        )
            match list(found):
                case []:
                    continue
                case [order_id] if is_id(order_id):
                    return order_id
                case [_]:
                    return Unknown("Zoho answered with a sales order without an id")
                case several:
                    return Permanent(
                        "ambiguous",
                        f"{len(several)} sales orders in Zoho have the {name} {number}: {', '.join(found.values())}",
                    )
        return NotFound(reason=f"no sales order in Zoho has the reference or number {number}")

    def _order_of(self, command: Restock, operation: str) -> Order | NotFound | Trouble:
        """The sales order that a restock is about: an owner that mirrors no orders is only told the number."""
        if command.order_id:
            return self._order(command.order_id, operation)
        match self._find_order(command.order_number, operation):
            case str() as order_id:
                return self._order(order_id, operation)
            case no:
                return no

    def _order(self, order_id: str, operation: str) -> Order | Trouble:
        if not is_id(order_id):
            return unknown_reference(order_id, "sales order")
        response = self._send(Request("GET", f"/salesorders/{order_id}", f"zoho-inventory.{operation}"))
        match read_one(response, "salesorder", "salesorder_id", order_id):
            case dict() as plain:
                return read_order(plain)
            case trouble:
                return trouble

    def _invoice(self, invoice_id: str, operation: str) -> dict[str, Any] | Trouble:
        if not is_id(invoice_id):
            return unknown_reference(invoice_id, "invoice")
        response = self._send(Request("GET", f"/invoices/{invoice_id}", f"zoho-inventory.{operation}"))
        return read_one(response, "invoice", "invoice_id", invoice_id)

    def _note(self, note_id: str, operation: str) -> dict[str, Any] | Trouble:
        if not is_id(note_id):
            return unknown_reference(note_id, "credit note")
        response = self._send(Request("GET", f"/creditnotes/{note_id}", f"zoho-inventory.{operation}"))
        return read_one(response, "creditnote", "creditnote_id", note_id)

    def _return(self, return_id: str, operation: str) -> dict[str, Any] | Trouble:
        response = self._send(Request("GET", f"/salesreturns/{return_id}", f"zoho-inventory.{operation}"))
        return read_one(response, "salesreturn", "salesreturn_id", return_id)

    def _our_return(self, order: Order, command: Restock, operation: str) -> str | Trouble | None:
        """The id of our sales return. The order lists its returns; where it says nothing, all returns are read."""
        rows: Iterable[Mapping[str, Any]]
        if order.returns is not None:
            rows = order.returns
        else:
            match self._all("/salesreturns", "salesreturns", operation, (), {}):
                case list() as listed:
                    rows = listed
                case trouble:
                    return trouble
        ours = [text_of(row.get("salesreturn_id")) for row in rows if is_our_return(row, command)]
        match ours:
            case []:
                return None
            case [return_id] if is_id(return_id):
                return return_id
            case [_]:
                return Unknown("Zoho answered with a sales return without an id")
            case several:
                return twice("sales returns", several, command.step_key)

    def _receive(self, return_id: str, command: Restock) -> Outcome:
        """Receives our return, unless it was received already. Nothing of it raises the stock before."""
        match self._return(return_id, "restock"):
            case dict() as returned:
                pass
            case trouble:
                return before_write(trouble)
        match judge_receives(returned, command):
            case NotFound():
                pass
            case found:
                return as_already(found)
        match receive_request(returned, return_id, command, self.today()):
            case Request() as request:
                response = self._send(request)
            case no:
                return no
        match read_body(response, is_write=True):
            case {"salesreturn": dict() as received}:
                return judge_receive(received, command)
            case Refusal() as refusal:
                return settle_refusal(refusal, self.find_restock, command)
            case dict():
                return Unknown("Zoho answered without the receive")
            case trouble:
                return trouble

    def _settle_return(self, refusal: Refusal, command: Restock) -> Outcome:
        """A return was refused: perhaps because ours is there already, then it is received now."""
        match self._order_of(command, "restock"):
            case Order() as order:
                pass
            case NotFound():
                return refused(refusal)
            case trouble:
                return unsettled(refusal, trouble)
        match self._our_return(order, command, "restock"):
            case None:
                return refused(refusal)
            case str() as return_id:
                return self._receive(return_id, command)
            case trouble:
                return unsettled(refusal, trouble)

    def _find_carrier(self, order: Order, command: Restock) -> Found:
        """Whether the step that carries the restock did it. A void proves it; a credit note alone does not, because Zoho
        does not say what an order that is not void still reserves.
        """
        if order.status == VOID:
            return Done(order.order_id, "the void ended the order's reservation")
        absent = NotFound(_SETTLED_S, f"the sales order is not void but {order.status}")
        if ".cancel_order." in command.carried_by:
            return absent
        filters = [("reference_number", command.carried_by)]
        match self._all(
            "/creditnotes", "creditnotes", "find_restock", filters, {"reference_number": command.carried_by}
        ):
            case []:
                return absent
            case [{"creditnote_number": str(number)}, *_]:
                return Permanent(
                    "not_proven",
                    f"credit note {number} cancels these units, but sales order {order.number} is {order.status} and Zoho does "
                    "not say whether it still reserves their stock: look at the items' committed stock, void the sales order if "
                    "it is still reserved, then resolve this step",
                )
            case list():
                return Unknown("Zoho answered with a credit note without a number")
            case trouble:
                return not_seen(trouble)

    def _notes(
        self, filters: list[tuple[str, str]], command: CreditNote, operation: str
    ) -> list[Note | None] | Trouble:
        """The credit notes with that reference or number; None for one that cannot be read."""
        match self._all("/creditnotes", "creditnotes", operation, filters, dict(filters)):
            case list() as rows:
                return [read_note(row) for row in rows]
            case trouble:
                return trouble

    def _open_note(self, note_id: str, command: CreditNote) -> Outcome:
        """A note that began as a draft is opened: until then it is not in the books, and nothing can be refunded on it."""
        request = Request("POST", f"/creditnotes/{note_id}/converttoopen", "zoho-inventory.open_credit_note")
        match read_body(self._send(request), is_write=True):
            case dict() | Refusal() as answer:
                # Refused may mean that it is open by now: the note itself says.
                match self._note(note_id, "credit_note"):
                    case dict() as note:
                        match judge_note(read_note(note), command):
                            case Note(number=number):
                                return not_opened(number, answer)
                            case outcome:
                                return outcome
                    case trouble:
                        return Unknown(not_seen(trouble).reason)
            case trouble:
                return trouble

    def _refunds(self, command: RecordRefund, operation: str) -> list[dict[str, Any]] | Trouble:
        if not is_id(command.credit_note_id):
            return unknown_reference(command.credit_note_id, "credit note")
        path = f"/creditnotes/{command.credit_note_id}/refunds"
        return self._all(path, "creditnote_refunds", operation, (), {})

    def _credit_lines(
        self, invoice: Mapping[str, Any], facts: InvoiceFacts, command: CreditNote
    ) -> CreditLines | Trouble | None:
        """The invoice's unshipped units that the note is for, where they add up to its amount; None where they do not, or
        where it cannot be known that they are unshipped. Zoho credits units of a paid invoice only.
        """
        if not command.items or facts.due.minor:
            return None
        match self._order_of_invoice(invoice, "credit_note"):
            case Order() as order:
                return match_units(invoice, order, command)
            case None:
                return None
            case trouble:
                return trouble

    def _order_of_invoice(self, invoice: Mapping[str, Any], operation: str) -> Order | Trouble | None:
        """The sales order that an invoice was made from: the one it names, or whose number is its reference; and that
        shows this invoice.
        """
        order_id = text_of(invoice.get("salesorder_id"))
        if not is_id(order_id):
            number = text_of(invoice.get("reference_number")).strip()
            if not number:
                return None
            match self._all(
                "/salesorders",
                "salesorders",
                operation,
                [("salesorder_number", number)],
                {"salesorder_number": number},
            ):
                case [{"salesorder_id": str(found)}] if is_id(found):
                    order_id = found
                case list():
                    return None
                case trouble:
                    return trouble
        match self._order(order_id, operation):
            case Order() as order if any(i.invoice_id == invoice.get("invoice_id") for i in order.invoices):
                return order
            case Order() | Refusal(status=404):
                return None
            case trouble:
                return trouble


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def list_request(path: str, operation: str, filters: Iterable[tuple[str, str]], page: int) -> Request:
    return Request(
        "GET",
        path,
        f"zoho-inventory.{operation}",
        params=(*filters, ("page", str(page)), ("per_page", str(_PAGE))),
    )


def void_order_request(order_id: str) -> Request:
    return Request("POST", f"/salesorders/{order_id}/status/void", "zoho-inventory.cancel_order")


def void_invoice_request(invoice_id: str) -> Request:
    return Request("POST", f"/invoices/{invoice_id}/status/void", "zoho-inventory.void_invoice")


def return_number(command: Restock) -> str:
    """Our sales return's number, the same for every try of the step."""
    return f"RMA-{command.step_key.replace('.restock.', '-')}"


def return_request(order: Order, command: Restock, today: date) -> Request | Permanent:
    """The sales return over the command's units, as lines of this sales order."""
    if command.location and not is_id(command.location):
        return unknown_reference(command.location, "location")
    units = units_on(order, command)
    if isinstance(units, Permanent):
        return units
    lines = [
        {
            "item_id": line.item_id,
            "salesorder_item_id": line.line_id,
            "quantity": quantity,
            "non_receive_quantity": 0,
        }
        for line, quantity in units
    ]
    return Request(
        "POST",
        "/salesreturns",
        "zoho-inventory.restock",
        params=(("salesorder_id", order.order_id),),
        json={
            "salesreturn_number": return_number(command),
            "date": today.isoformat(),
            "reason": f"refundflow {command.step_key}",
            **({"location_id": command.location} if command.location else {}),
            "line_items": lines,
        },
    )


def units_on(order: Order, command: Restock) -> tuple[tuple[Line, int], ...] | Permanent:
    """The command's units as lines of this sales order: by its own line ids, or by SKU where another platform's order lines
    are meant.
    """
    by_id = {line.line_id: line for line in order.lines}
    if command.lines and all(unit.line_id in by_id for unit in command.lines):
        chosen = tuple((by_id[unit.line_id], unit.quantity) for unit in command.lines)
    else:
        chosen, missing = spread(
            command.items, [(line, line.sku, line.shipped - line.returned) for line in order.lines]
        )
        if missing or not chosen:
            told = ", ".join(missing) or "these units, which have no SKU here"
            return Permanent(
                "not_shipped",
                f"sales order {order.number} has not shipped {told}: only shipped units come back. {_ADJUST}",
            )
    lacking = [
        f"{quantity} x {line.sku or line.line_id}"
        for line, quantity in chosen
        if quantity > line.shipped - line.returned
    ]
    if lacking:
        return Permanent(
            "not_shipped",
            f"sales order {order.number} has not shipped {', '.join(lacking)}, or they came back already. {_ADJUST}",
        )
    return chosen


_T = TypeVar("_T")


def spread(
    items: Iterable[ItemQuantity], places: Iterable[tuple[_T, str, int]]
) -> tuple[tuple[tuple[_T, int], ...], tuple[str, ...]]:
    """Units of articles as units of lines, each up to what it holds; and what found no place. `places`: a line, its SKU,
    and how many units it can give.
    """
    held = [(place, sku, units) for place, sku, units in places]
    chosen: list[tuple[_T, int]] = []
    missing: list[str] = []
    for item in items:
        left = item.quantity
        for place, sku, units in held:
            part = min(left, units) if sku and sku == item.sku else 0
            if part > 0:
                chosen.append((place, part))
                left -= part
        if left:
            missing.append(f"{left} x {item.sku}")
    return tuple(chosen), tuple(missing)


def receive_request(
    returned: Mapping[str, Any], return_id: str, command: Restock, today: date
) -> Request | Permanent | Retryable:
    """Takes all units of our return in. Nothing of it was received yet."""
    number = text_of(returned.get("salesreturn_number"))
    match returned.get("salesreturn_status"):
        case "approved":
            pass
        case "draft" | "pending_approval" as status:
            return Permanent(
                "not_approved",
                f"sales return {number} is there and {status}: approve it in Zoho, then replay this step, which will find it",
            )
        case status:
            return Permanent(
                "not_receivable", f"sales return {number} is {status!r:.40}: nothing of it can be received"
            )
    lines: list[dict[str, Any]] = []
    total = 0
    for line in documents(returned.get("line_items")):
        match line, units_of(line.get("quantity")), units_of(line.get("non_receive_quantity", 0)):
            case {"line_item_id": str(line_id)}, int(quantity), int(kept) if is_id(line_id):
                total += quantity - kept
                if quantity > kept:
                    lines.append({"line_item_id": line_id, "quantity": quantity - kept})
            case _:
                return Retryable("unreadable", f"the lines of sales return {number} cannot be read")
    if total != wanted_units(command):
        return wrong_units(f"sales return {number}", total, command)
    return Request(
        "POST",
        "/salesreturnreceives",
        "zoho-inventory.restock",
        params=(("salesreturn_id", return_id),),
        json={"date": today.isoformat(), "line_items": lines, "notes": f"refundflow {command.step_key}"},
    )


def note_request(
    invoice: Mapping[str, Any],
    facts: InvoiceFacts,
    units: CreditLines | None,
    command: CreditNote,
    today: date,
) -> Request | Permanent:
    """The note over exactly `command.amount`: the invoice's unshipped units where they are known, else one line of the
    amount, with the tax inside it, because the amount is what the customer gets back.
    """
    if units is None and command.restock:
        wanted = ", ".join(f"{item.quantity} x {item.sku}" for item in command.items) or "not named"
        return Permanent(
            "units_unmatched",
            f"the units ({wanted}) cannot be taken back by a note over {command.amount}: they are not on invoice "
            f"{facts.number} as paid for and unshipped, or come to another amount. In Zoho, write credit note {command.number} "
            f"from the invoice by hand, with reference {command.step_key}, then resolve this step with its id.",
        )
    is_inclusive = invoice.get("is_inclusive_tax") is True
    if units is not None:
        lines = [unit_line(line, facts.invoice_id) for line in units.lines]
        if units.shipping is not None:
            lines.append(amount_line("Shipping", units.shipping, ""))
    else:
        taxes = {line.tax_type for line in facts.lines if line.gross.minor}
        if len(taxes) > 1:
            return Permanent(
                "ambiguous_tax",
                f"{command.amount} of invoice {facts.number} ({facts.total}) cannot be spread over its {len(taxes)} taxes "
                f"without guessing. In Zoho, write credit note {command.number} over {command.amount} by hand, with reference "
                f"{command.step_key}, then resolve this step with its id.",
            )
        is_inclusive = True
        lines = [amount_line(command.memo or facts.number, command.amount, "".join(taxes))]
    is_taxed = any("tax_id" in line for line in lines)
    parent = [("invoice_id", facts.invoice_id)] if is_parent(facts, command.amount) else []
    return Request(
        "POST",
        "/creditnotes",
        "zoho-inventory.credit_note",
        params=(*parent, ("ignore_auto_number_generation", "true")),
        json={
            "customer_id": facts.contact_id,
            "date": today.isoformat(),
            "creditnote_number": command.number,
            "reference_number": command.step_key,
            **({"notes": command.memo} if command.memo else {}),
            **({"is_inclusive_tax": is_inclusive} if is_taxed else {}),
            "line_items": lines,
        },
    )


def is_parent(facts: InvoiceFacts, amount: Money) -> bool:
    """Whether the note is made from its invoice: then Zoho sets it against what is due first, and only the rest can be
    recorded as refunded. Wanted where nothing is due, or where more is credited than was paid: that more is what the
    note forgives. Elsewhere a refund out of the note comes first, and a person can still apply what is left of it.
    """
    return facts.due.minor == 0 or 0 < facts.paid.minor < amount.minor


def unit_line(line: CreditLine, invoice_id: str) -> dict[str, Any]:
    return {
        "item_id": line.item_id,
        "quantity": line.quantity,
        "rate": line.rate,
        "invoice_id": invoice_id,
        "invoice_item_id": line.line_id,
        "is_item_shipped": False,
        **({"tax_id": line.tax_id} if line.tax_id else {}),
    }


def amount_line(name: str, amount: Money, tax_id: str) -> dict[str, Any]:
    """A line without an article: it moves no stock."""
    return {
        "name": name[:_TEXT_CHARS],
        "quantity": 1,
        "rate": Decimal(amount.major),
        **({"tax_id": tax_id} if tax_id else {}),
    }


def refund_request(command: RecordRefund, today: date) -> Request:
    described = f"refundflow {command.step_key} {command.refund_reference}".strip()
    return Request(
        "POST",
        f"/creditnotes/{command.credit_note_id}/refunds",
        "zoho-inventory.record_refund",
        json={
            "date": today.isoformat(),
            "refund_mode": "banktransfer",
            "reference_number": command.step_key[:_REFERENCE_CHARS],
            "amount": Decimal(command.amount.major),
            "from_account_id": command.account_code,
            "description": described[:_DESCRIPTION_CHARS],
        },
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers: the envelope


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    rows: list[dict[str, Any]]
    has_more: bool


def read_body(
    response: Response, *, is_write: bool = False
) -> dict[str, Any] | Refusal | Retryable | Unknown:
    """The body of an answer that says yes; else what it says. A failure on Zoho's side may have acted, if it was asked to."""
    match response.status, response.json:
        case 401 | 403 as status, _:
            return Retryable(
                "unauthorised",
                f"Zoho answered {status}: check the refresh token, its scopes, the data centre and the organisation"
                + told(response),
            )
        case 429, _:
            return Retryable("throttled", "Zoho is asked too often" + told(response), response.retry_after_s)
        case 200 | 201, {"code": int(code)} as body if code == 0 and not isinstance(code, bool):
            return dict(body)
        case status, {"code": int(code)} as body if status < 500 and code != 0 and not isinstance(code, bool):
            message = text_of(body.get("message")) or "no message"
            hint = HINTS.get(code, "")
            return Refusal(status, code, f"{message} (code {code}{f': {hint}' if hint else ''})")
        case status, _ if status >= 500 and not is_write:
            return Retryable("unavailable", f"Zoho answered {status}", response.retry_after_s)
        case status, _:
            return Unknown(f"unreadable answer, status {status}")


def told(response: Response) -> str:
    """Zoho's message, for people."""
    match response.json:
        case {"message": str(message), "code": int(code)}:
            hint = HINTS.get(code, "")
            return f" ({message}{f'; {hint}' if hint else ''})"
        case _:
            return ""


def read_one(response: Response, name: str, id_name: str, wanted: str) -> dict[str, Any] | Trouble:
    """The object that was asked for, and no other."""
    match read_body(response):
        case dict() as body:
            match body.get(name):
                case dict() as one if one.get(id_name) == wanted:
                    return one
                case _:
                    return Unknown(f"Zoho answered without the {name} that was asked for")
        case trouble:
            return trouble


def read_page(response: Response, name: str) -> Page | Trouble:
    match read_body(response):
        case dict() as body:
            match body.get(name), body.get("page_context"):
                case list(rows), _ if not all(isinstance(row, dict) for row in rows):
                    return Unknown(f"Zoho's list of {name} cannot be read")
                case list(rows), {"has_more_page": bool(has_more)}:
                    return Page(rows, has_more)
                case list(rows), _:
                    return Page(rows, len(rows) >= _PAGE)
                case _:
                    return Unknown(f"Zoho answered without the list of {name}")
        case trouble:
            return trouble


def read_health(response: Response, organization_id: str) -> Health:
    match read_body(response):
        case {"organizations": list(found)}:
            for organization in documents(found):
                if organization.get("organization_id") == organization_id:
                    name, currency = organization.get("name"), organization.get("currency_code")
                    plan = text_of(organization.get("plan_name"))
                    return Health(True, f"{name}, base currency {currency}{f', plan {plan}' if plan else ''}")
            return Health(
                False, f"the account is not in organisation {organization_id}: check organization_id"
            )
        case dict():
            return Health(False, "Zoho answered without organisations")
        case Refusal(reason=reason) | Retryable(reason=reason) | Unknown(reason=reason):
            return Health(False, reason)


#: What others report of Zoho's numbers, of which it publishes none (third-party code, read 2026-11-25). Told to people, never
#: decided on.
HINTS: Final[Mapping[int, str]] = {
    14: "the access token is not accepted",
    57: "a scope is missing",
    1001: "there is one like it already",
    1002: "there is no such object",
    2006: "there is no such item",
    4029: "check organization_id",
}


def no_answer(trouble: Trouble) -> NoAnswer:
    """A read that was refused: asking again would not help."""
    match trouble:
        case Refusal() as refusal:
            return refused(refusal)
        case _:
            return trouble


def before_write(trouble: Trouble) -> Retryable | Permanent:
    """Trouble while looking before a write: nothing was sent, so nothing can have happened."""
    match trouble:
        case Refusal() as refusal:
            return refused(refusal)
        case Unknown(reason=reason):
            return Retryable("unreadable", reason)
        case _:
            return trouble


def not_seen(trouble: Trouble) -> Retryable | Unknown:
    """A look that was refused, or saw nothing that can be read: no word about the effect."""
    match trouble:
        case Refusal(reason=reason):
            return Unknown(f"could not look: Zoho refused: {reason}")
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look ({code}): {reason}")
        case _:
            return trouble


def refused(refusal: Refusal) -> Permanent:
    return Permanent("not_found" if refusal.status == 404 else "refused", f"Zoho refused: {refusal.reason}")


def unsettled(refusal: Refusal, trouble: Trouble) -> Unknown:
    return Unknown(
        f"refused ({refusal.reason}), and the look did not tell whether it is there: {not_seen(trouble).reason}"
    )


def seen_after(found: Found, what: str) -> Outcome:
    """A yes is believed when it is seen. A look that fails now is no "nothing happened" any more."""
    match found:
        case NotFound():
            return Unknown(f"Zoho said that {what}, and does not show it so")
        case Retryable(reason=reason):
            return Unknown(f"Zoho said that {what}, and could not be asked again: {reason}")
        case _:
            return found


_C = TypeVar("_C")


def settle_refusal(refusal: Refusal, find: Callable[[_C], Found], command: _C) -> Outcome:
    """Decides a refusal by looking: what is found counts, where there is nothing the refusal stands."""
    match find(command):
        case NotFound():
            return refused(refusal)
        case Unknown() | Retryable() as trouble:
            return unsettled(refusal, trouble)
        case found:
            return as_already(found)


def as_already(found: Outcome) -> Outcome:
    """What a look before the write found was done before this try."""
    match found:
        case Done(reference=reference, detail=detail):
            return AlreadyDone(reference, detail)
        case _:
            return found


def unknown_reference(reference: str, kind: str) -> Permanent:
    return Permanent("unknown_reference", f"{reference!r:.60} is no {kind} of Zoho's: its ids are digits")


def twice(what: str, ids: Iterable[str], step_key: str) -> Permanent:
    return Permanent(
        "booked_twice", f"several {what} in Zoho are for {step_key}: {', '.join(ids)}. Undo all but one."
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers: fields


def is_id(value: str) -> bool:
    """Whether a text can be put into a path as an id of Zoho's."""
    return re.fullmatch(r"[0-9]{1,30}", value) is not None


def bare_number(number: str) -> str:
    return number.strip().lstrip("#")


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def documents(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def decimal_of(value: object) -> Decimal | None:
    """A JSON number, or the text of one, of a size that can be an amount."""
    match value:
        case bool():
            return None
        case int() | Decimal():
            number = Decimal(value)
        case str() if re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", value.strip(), re.ASCII):
            number = Decimal(value.strip())
        case _:
            return None
    return number if number.is_finite() and number.adjusted() <= 14 else None


def money_of(value: object, currency: str) -> Money | None:
    """An amount in major units as money; None for anything that is no amount in that currency."""
    number = decimal_of(value)
    try:
        return None if number is None else Money.from_major(number, currency)
    except ValueError:
        return None


def units_of(value: object) -> int | None:
    """A quantity in whole units; None for parts of one."""
    number = decimal_of(value)
    if number is None or number < 0 or number != number.to_integral_value():
        return None
    return int(number)


def moment_of(value: object) -> datetime | None:
    """`2015-05-28 00:00:00+00:00`, `2016-06-05T02:30:08-0700` or a plain day, which is taken as UTC."""
    try:
        found = datetime.fromisoformat(text_of(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


# ---------------------------------------------------------------------------------------------------------------------
# Answers: sales orders

VOID: Final = "void"
#: States in which goods are on their way, whatever the lines' quantities say.
_SHIPPED: Final = frozenset({"shipped", "partially_shipped", "fulfilled", "delivered"})
_INVOICED: Final = frozenset({"invoiced", "partially_invoiced"})

_ADJUST: Final = "In Zoho, make an inventory adjustment over the units that really came back, then resolve this step with its number."


def read_order(plain: Mapping[str, Any]) -> Order | Permanent | Unknown:
    currency = text_of(plain.get("currency_code"))
    total = money_of(plain.get("total"), currency)
    shipping = money_of(plain.get("shipping_charge", 0), currency)
    adjustment = money_of(plain.get("adjustment", 0), currency)
    created_at = moment_of(plain.get("created_time")) or moment_of(plain.get("date"))
    match plain:
        case {
            "salesorder_id": str(order_id),
            "salesorder_number": str(number),
            "status": str(status),
            "line_items": list(items),
        } if all(isinstance(item, dict) for item in items):
            pass
        case _:
            return Unknown("Zoho answered with a sales order whose fields cannot be read")
    if total is None or shipping is None or adjustment is None or created_at is None:
        return Unknown(f"the amounts or times of sales order {number} cannot be read")
    if any(is_part(item.get("quantity")) for item in items):
        return Permanent(
            "part_units", f"sales order {number} is over parts of units, which are cancelled by hand"
        )
    is_inclusive = plain.get("is_inclusive_tax") is True
    lines = tuple(line for item in items if (line := read_line(item, currency, is_inclusive)))
    packages = documents(plain.get("packages"))
    invoices = tuple(
        invoice
        for row in documents(plain.get("invoices"))
        if (invoice := read_order_invoice(row, currency)) is not None
    )
    if len(lines) != len(items) or len(invoices) != len(plain.get("invoices") or ()):
        return Unknown(f"the lines or invoices of sales order {number} cannot be read")
    returns = plain.get("salesreturns")
    contacts = documents(plain.get("contact_persons_associated"))
    emails = [text_of(contact.get("contact_person_email")) for contact in contacts]
    return Order(
        order_id=order_id,
        number=number,
        reference=text_of(plain.get("reference_number")).strip(),
        status=status,
        created_at=created_at,
        modified_at=moment_of(plain.get("last_modified_time")) or created_at,
        currency=currency,
        total=total,
        goods=total - shipping - adjustment,
        is_discounted_whole=plain.get("discount_type") == "entity_level",
        email=next((email for email in emails if email), ""),
        customer=text_of(plain.get("customer_name")),
        lines=lines,
        packages=tuple(text_of(p.get("package_number")) or text_of(p.get("package_id")) for p in packages),
        has_shipment=any(package.get("shipment_id") for package in packages),
        invoices=invoices,
        returns=tuple(documents(returns)) if isinstance(returns, list) else None,
    )


def is_part(value: object) -> bool:
    return decimal_of(value) is not None and units_of(value) is None


def read_line(item: Mapping[str, Any], currency: str, is_inclusive: bool) -> Line | None:
    """Quantities that an answer leaves out are none. The tax is a factor on what the line says."""
    names = ("packed", "shipped", "invoiced", "returned", "cancelled")
    counts = [units_of(item.get(f"quantity_{name}", 0)) for name in names]
    ordered = units_of(item.get("quantity"))
    percentage = decimal_of(item.get("tax_percentage", 0) or 0)
    rate = decimal_of(item.get("rate"))
    worth = money_of(item.get("item_total"), currency)
    if worth is None and rate is not None and ordered is not None:
        worth = money_of(rate * ordered, currency)
    match item, counts:
        case (
            {"line_item_id": str(line_id)},
            [int(packed), int(shipped), int(invoiced), int(returned), int(cancelled)],
        ) if ordered is not None and worth is not None and percentage is not None and is_id(line_id):
            return Line(
                line_id=line_id,
                item_id=text_of(item.get("item_id")),
                sku=text_of(item.get("sku")),
                name=text_of(item.get("name")),
                quantity=max(0, ordered - cancelled),
                packed=packed,
                shipped=shipped,
                invoiced=invoiced,
                returned=returned,
                worth=worth,
                tax=Decimal(1) if is_inclusive else 1 + percentage / 100,
            )
    return None


def read_order_invoice(row: Mapping[str, Any], currency: str) -> OrderInvoice | None:
    match row:
        case {"invoice_id": str(invoice_id), "status": str(status)} if is_id(invoice_id):
            return OrderInvoice(
                invoice_id,
                text_of(row.get("invoice_number")) or invoice_id,
                status,
                money_of(row.get("total"), currency),
                money_of(row.get("balance"), currency),
            )
        case _:
            return None


def stand(order: Order) -> Standing:
    """Whether the order can be voided, what takes it back instead, or what a person must do first."""
    shipped = sum(line.shipped for line in order.lines)
    packed = sum(line.packed for line in order.lines)
    live = [invoice for invoice in order.invoices if invoice.status != VOID]
    person = TakesBack.PERSON
    name = f"sales order {order.number}"
    if order.status == VOID:
        return Standing(TakesBack.CALL)
    if shipped or order.has_shipment or order.status in _SHIPPED:
        return Standing(
            person,
            "shipped",
            f"units of {name} have been shipped (state {order.status}): they come back by a sales return",
        )
    if packed or order.packages:
        packages = ", ".join(order.packages) or f"{packed} units"
        return Standing(
            person,
            "packed",
            f"{name} is packed ({packages}): unpack the goods and delete the package in Zoho first",
        )
    if live or any(line.invoiced for line in order.lines) or order.status in _INVOICED:
        return stand_invoiced(order, live, name)
    if order.status == "closed":
        return Standing(
            person, "closed", f"{name} is closed: reopen it in Zoho first, if it may be cancelled"
        )
    return Standing(TakesBack.CALL)


def stand_invoiced(order: Order, live: list[OrderInvoice], name: str) -> Standing:
    """Zoho credits unshipped units of a paid invoice, and voids an order whose invoices are void. In between, somebody has to
    choose.
    """
    person = TakesBack.PERSON
    numbers = ", ".join(invoice.number for invoice in live) or "an invoice"
    match live:
        case [OrderInvoice(status=status, total=Money() as total, balance=Money() as balance)]:
            if any(line.invoiced < line.quantity for line in order.lines):
                why = (
                    f"{name} is invoiced in part ({numbers}): credit that part and take the rest out by hand"
                )
                return Standing(person, "invoiced", why)
            if status == "draft":
                return Standing(
                    person, "invoiced", f"{name} has a draft invoice {numbers}: delete it in Zoho first"
                )
            if balance.minor == 0:
                why = f"{name} is invoiced and paid ({numbers}): it is taken back by a credit note over that invoice"
                return Standing(TakesBack.REFUND, "invoiced", why)
            if balance == total:
                why = f"{name} is invoiced and Zoho knows no payment ({numbers}): void that invoice in Zoho first"
                return Standing(person, "invoiced", why)
            why = f"invoice {numbers} of {name} is paid in part, {balance} are due: credit it or void it by hand first"
            return Standing(person, "invoiced", why)
        case _:
            why = f"{name} is invoiced ({numbers}), and it cannot be told as one paid invoice: a person takes it back"
            return Standing(person, "invoiced", why)


def order_facts(order: Order) -> OrderFacts:
    standing = stand(order)
    is_void = order.status == VOID
    return OrderFacts(
        platform=SPEC.platform,
        order_id=order.order_id,
        number=order.reference or order.number,
        created_at=order.created_at,
        currency=order.currency,
        total=order.total,
        email=order.email,
        lines=tuple(
            OrderLine(
                line_id=line.line_id,
                sku=line.sku,
                title=line.name,
                quantity=line.quantity,
                unfulfilled=max(0, line.quantity - line.shipped),
                refundable=max(0, line.quantity - line.returned),
                unit=unit_worth(line),
            )
            for line in order.lines
        ),
        payments=(),
        # Zoho does not say when an order was voided; nothing is changed on it afterwards as a rule.
        cancelled_at=order.modified_at if is_void else None,
        is_return_open=any(is_open_return(row) for row in order.returns or ()),
        customer_name=order.customer,
        cancels=standing.takes_back,
        cancels_lines=TakesBack.PERSON,
        cancel_refusal=standing.why if standing.takes_back is TakesBack.PERSON else "",
        is_restock_carried=True,
        records_refunds=False,
        releases_authorisations=False,
        knows_payments=False,
    )


def unit_worth(line: Line) -> Money:
    """One unit's price after the line's discount; a fraction of a minor unit is dropped."""
    return Money(line.worth.minor // line.quantity if line.quantity else 0, line.worth.currency)


def is_open_return(row: Mapping[str, Any]) -> bool:
    return row.get("salesreturn_status") in ("approved", "draft", "pending_approval") and (
        row.get("receive_status") != "received"
    )


def quote(order: Order, lines: tuple[LineQuantity, ...]) -> Money | Permanent:
    """What these units are worth to the customer: their share of the lines' worth, with tax, less the order's own discount.
    Refused where the lines do not add up to what the order says, for a reason that cannot be seen.
    """
    by_id = {line.line_id: line for line in order.lines}
    strange = [unit.line_id for unit in lines if unit.line_id not in by_id]
    if strange:
        return Permanent("unknown_lines", f"sales order {order.number} has no line {', '.join(strange)}")
    if any(not 0 < unit.quantity <= by_id[unit.line_id].quantity for unit in lines):
        return Permanent("too_many_units", f"sales order {order.number} does not have so many units")
    sum_of_lines = sum((line.worth.minor * line.tax for line in order.lines), Decimal(0))
    if order.is_discounted_whole and sum_of_lines > 0:
        scale = Decimal(order.goods.minor) / sum_of_lines
    elif abs(sum_of_lines - order.goods.minor) <= len(order.lines):
        scale = Decimal(1)
    else:
        return Permanent(
            "cannot_quote",
            f"the lines of sales order {order.number} come to another amount than the order ({order.goods} without shipping): a "
            "person says what these units are worth",
        )
    wanted = sum(
        (
            by_id[unit.line_id].worth.minor
            * by_id[unit.line_id].tax
            * unit.quantity
            / by_id[unit.line_id].quantity
            for unit in lines
        ),
        Decimal(0),
    )
    minor = int((wanted * scale).to_integral_value(ROUND_HALF_UP))
    return Money(min(minor, order.goods.minor), order.currency)


# ---------------------------------------------------------------------------------------------------------------------
# Answers: sales returns


def no_call_for_units(command: Restock) -> Permanent:
    units = ", ".join(f"{item.quantity} x {item.sku}" for item in command.items) or "the units"
    return Permanent(
        "no_call",
        f"Zoho frees the stock of unshipped units only with their sales order: take {units} out of it there (Cancel Items, or "
        "void the order), then resolve this step with what you see.",
    )


def wanted_units(command: Restock) -> int:
    return sum(unit.quantity for unit in (command.lines or command.items))


def wrong_units(what: str, units: int, command: Restock) -> Permanent:
    return Permanent(
        "quantity_mismatch",
        f"{what} is over {units} units, {wanted_units(command)} were asked for: put it right in Zoho, then resolve this step",
    )


def is_our_return(row: Mapping[str, Any], command: Restock) -> bool:
    """By number, or by our key as a word of the reason: Zoho may have given it another number."""
    return (
        row.get("salesreturn_number") == return_number(command)
        or command.step_key in text_of(row.get("reason")).split()
    )


def read_new_return(body: Mapping[str, Any], order_id: str) -> str | Outcome:
    """The id of the return that was just made. One that belongs to no order can be received like any other, but its order
    would not show it, and nothing would keep the units from being returned once more.
    """
    match body.get("salesreturn"):
        case {"salesreturn_id": str(return_id), "salesorder_id": str(parent)} if is_id(return_id):
            if parent != order_id:
                return Permanent(
                    "orphan_return",
                    f"Zoho made sales return {return_id} without its order: delete it there, then replay this step",
                )
            return return_id
        case _:
            return Unknown("Zoho answered without the sales return")


def judge_receives(returned: Mapping[str, Any], command: Restock) -> Found:
    """Whether our return has been taken in, by us or by somebody in the warehouse."""
    number = text_of(returned.get("salesreturn_number"))
    receives = returned.get("salesreturnreceives", [])
    if not isinstance(receives, list) or len(documents(receives)) != len(receives):
        return Unknown(f"the receives of sales return {number} cannot be read")
    ours = [r for r in documents(receives) if command.step_key in text_of(r.get("notes")).split()]
    match ours:
        case [receive]:
            return judge_receive(receive, command)
        case [_, *_]:
            return twice("receives", [text_of(r.get("receive_id")) for r in ours], command.step_key)
    if not receives and returned.get("receive_status") in ("", None, "not_received"):
        return NotFound(_SETTLED_S, f"sales return {number} is there, and not received yet")
    if returned.get("receive_status") == "received":
        return AlreadyDone(
            text_of(returned.get("salesreturn_id")), f"sales return {number} was received by hand"
        )
    return Permanent(
        "partly_received",
        f"somebody received a part of sales return {number}: receive the rest in Zoho, then resolve this step",
    )


def judge_receive(receive: Mapping[str, Any], command: Restock) -> Outcome:
    quantities = [units_of(line.get("quantity")) for line in documents(receive.get("line_items"))]
    match receive.get("receive_id"):
        case str() as receive_id if receive_id and quantities:
            units = [quantity for quantity in quantities if quantity is not None]
            if len(units) != len(quantities):
                return Unknown(f"the quantities of receive {receive_id} cannot be read")
            if sum(units) != wanted_units(command):
                return wrong_units(f"receive {receive_id}", sum(units), command)
            return Done(receive_id)
        case _:
            return Unknown("Zoho answered with a receive that cannot be read")


# ---------------------------------------------------------------------------------------------------------------------
# Answers: invoices

_STATES: Final[Mapping[str, InvoiceState]] = {
    "draft": InvoiceState.DRAFT,
    "pending_approval": InvoiceState.DRAFT,
    "approved": InvoiceState.DRAFT,
    "sent": InvoiceState.OPEN,
    "viewed": InvoiceState.OPEN,
    "unpaid": InvoiceState.OPEN,
    "overdue": InvoiceState.OPEN,
    "partially_paid": InvoiceState.OPEN,
    "paid": InvoiceState.PAID,
    "void": InvoiceState.VOIDED,
}


def invoice_facts(invoice: Mapping[str, Any]) -> InvoiceFacts | Unknown:
    """Where Zoho does not say how much was paid and how much credited, all that is not due counts as paid."""
    unreadable = Unknown("Zoho answered with an invoice whose fields cannot be read")
    match invoice:
        case {
            "invoice_id": str(invoice_id),
            "invoice_number": str(number),
            "status": str(status),
            "customer_id": str(customer_id),
            "currency_code": str(currency),
            "line_items": list(items),
        } if status in _STATES and all(isinstance(item, dict) for item in items):
            pass
        case _:
            return unreadable
    total = money_of(invoice.get("total"), currency)
    balance = money_of(invoice.get("balance"), currency)
    credited = money_of(invoice.get("credits_applied", 0), currency)
    if total is None or balance is None or credited is None:
        return unreadable
    state = _STATES[status]
    # What a void invoice shows as its balance differs; nothing is due on it, and nothing was kept.
    due = Money(0, currency) if state is InvoiceState.VOIDED else balance
    settled = Money(0, currency) if state is InvoiceState.VOIDED else total - balance - credited
    paid = money_of(invoice.get("payment_made", settled.major), currency)
    lines = [line for item in items if (line := read_invoice_line(item, currency)) is not None]
    if paid is None or len(lines) != len(items):
        return unreadable
    return InvoiceFacts(
        platform=SPEC.platform,
        invoice_id=invoice_id,
        number=number,
        state=state,
        contact_id=customer_id,
        total=total,
        due=due,
        paid=paid,
        credited=credited,
        lines=tuple(lines),
        line_amount_types="inclusive" if invoice.get("is_inclusive_tax") is True else "exclusive",
        refunded_by=RefundedBy.NOTE,
        is_allocated=False,
    )


def read_invoice_line(item: Mapping[str, Any], currency: str) -> InvoiceLine | None:
    gross = money_of(item.get("item_total"), currency)
    if gross is None:
        return None
    return InvoiceLine(
        description=text_of(item.get("name")) or text_of(item.get("description")),
        gross=gross,
        account_code=text_of(item.get("account_id")),
        tax_type=text_of(item.get("tax_id")).strip(),
        line_id=text_of(item.get("line_item_id")),
        sku=text_of(item.get("sku")),
        quantity=units_of(item.get("quantity")) or 0,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers: credit notes


def refuse_note(facts: InvoiceFacts, command: CreditNote) -> Permanent | None:
    """What speaks against a note over this invoice, as it stands now."""
    if command.amount.currency != facts.total.currency:
        return Permanent(
            "currency_mismatch",
            f"invoice {facts.number} is in {facts.total.currency}, not {command.amount.currency}",
        )
    if facts.state in (InvoiceState.VOIDED, InvoiceState.DRAFT):
        return Permanent(
            "not_creditable",
            f"invoice {facts.number} is {facts.state.value} in Zoho: there is nothing to credit. If the books are right so, "
            "discard this step.",
        )
    if not is_id(facts.contact_id):
        return unknown_reference(facts.contact_id, "customer")
    return None


def match_units(invoice: Mapping[str, Any], order: Order, command: CreditNote) -> CreditLines | None:
    """The command's units as lines of the invoice, none of them packed or shipped, where they come to the amount exactly;
    with the invoice's shipping where that is just what is missing.
    """
    ordered = {line.line_id: line for line in order.lines}
    places: list[tuple[tuple[Mapping[str, Any], Line], str, int]] = []
    left = {line.line_id: line.quantity - max(line.packed, line.shipped) for line in order.lines}
    for item in documents(invoice.get("line_items")):
        held = ordered.get(text_of(item.get("salesorder_item_id")))
        if held is None:
            same = [line for line in order.lines if line.item_id and line.item_id == item.get("item_id")]
            held = same[0] if len(same) == 1 else None
        units = units_of(item.get("quantity"))
        if held is None or units is None:
            continue
        free = max(0, min(units, left[held.line_id]))
        left[held.line_id] -= free
        places.append(((item, held), text_of(item.get("sku")) or held.sku, free))
    chosen, missing = spread(command.items, places)
    if missing or not chosen:
        return None
    lines: list[CreditLine] = []
    total = Decimal(0)
    for (credited, held), quantity in chosen:
        rate = unit_rate(credited, command.amount.currency)
        line_id, item_id = text_of(credited.get("line_item_id")), text_of(credited.get("item_id"))
        if rate is None or not is_id(line_id) or not is_id(item_id):
            return None
        total += rate * quantity * held.tax
        lines.append(CreditLine(line_id, item_id, quantity, rate, text_of(credited.get("tax_id")).strip()))
    step = Decimal(1).scaleb(-exponent_of(command.amount.currency))
    rest = Decimal(command.amount.major) - total.quantize(step, ROUND_HALF_UP)
    if rest == 0:
        return CreditLines(tuple(lines), None)
    shipping = money_of(invoice.get("shipping_charge", 0), command.amount.currency)
    if shipping is not None and shipping.minor and rest == Decimal(shipping.major):
        return CreditLines(tuple(lines), shipping)
    return None


def unit_rate(item: Mapping[str, Any], currency: str) -> Decimal | None:
    """What a note must say as the rate of one unit so that it comes to what the invoice says after its discount; None
    where that is no whole number of minor units.
    """
    rate, worth = decimal_of(item.get("rate")), decimal_of(item.get("item_total"))
    quantity = units_of(item.get("quantity"))
    if worth is None or not quantity:
        return None
    if rate is not None and rate * quantity == worth:
        return rate
    money = money_of(worth, currency)
    if money is None or money.minor % quantity:
        return None
    return Decimal(Money(money.minor // quantity, currency).major)


def read_note(plain: Mapping[str, Any]) -> Note | None:
    match plain:
        case {
            "creditnote_id": str(note_id),
            "creditnote_number": str(number),
            "status": str(status),
            "currency_code": str(currency),
        } if is_id(note_id):
            total = money_of(plain.get("total"), currency)
            return Note(note_id, number, status, total) if total is not None else None
        case _:
            return None


def pick_note(notes: Iterable[Note | None], command: CreditNote) -> Note | Outcome:
    """Our note among those with our reference: one that lives speaks before one that somebody voided."""
    found = list(notes)
    live = [note for note in found if note is None or note.status != VOID]
    match live or found[:1]:
        case [note]:
            return judge_note(note, command)
        case several:
            return twice("credit notes", [note.note_id for note in several if note], command.step_key)


def judge_note(note: Note | None, command: CreditNote) -> Note | Outcome:
    """What our note is worth, beside what was asked for; the note itself where it is a draft that must be opened."""
    if note is None:
        return Unknown("Zoho answered with a credit note whose fields cannot be read")
    if note.status == VOID:
        return Permanent(
            "voided",
            f"credit note {note.number} ({note.note_id}) was written and is void since: a person undid it",
        )
    if note.total != command.amount:
        return Permanent(
            "amount_mismatch",
            f"credit note {note.number} ({note.note_id}) says {note.total}, {command.amount} was asked for: correct it in Zoho "
            "by hand",
        )
    match note.status:
        case "open" | "closed":
            detail = "" if note.number == command.number else f"Zoho numbered it {note.number}"
            return Done(note.note_id, detail)
        case "draft":
            return note
        case status:
            return not_opened(note.number, Refusal(200, 0, f"its status is {status}"))


def not_opened(number: str, answer: dict[str, Any] | Refusal) -> Permanent:
    why = f" ({answer.reason})" if isinstance(answer, Refusal) else ""
    return Permanent(
        "not_open",
        f"credit note {number} is written and not open{why}: open or approve it in Zoho, then replay this step, which will find it",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers: refunds of credit notes


def refuse_refund(note: Mapping[str, Any], command: RecordRefund) -> Permanent | Retryable | None:
    """What speaks against a refund of this note, as it stands now."""
    currency = text_of(note.get("currency_code"))
    number = text_of(note.get("creditnote_number")) or command.credit_note_id
    balance = money_of(note.get("balance"), currency)
    if currency != command.amount.currency:
        return Permanent(
            "currency_mismatch", f"credit note {number} is in {currency}, not {command.amount.currency}"
        )
    if balance is None:
        return Retryable("unreadable", f"the balance of credit note {number} cannot be read")
    if note.get("status") == VOID:
        return Permanent("voided", f"credit note {number} is void: a person undid it")
    if balance < command.amount:
        return Permanent(
            "no_balance",
            f"{balance} are left on credit note {number}, {command.amount} were given back: it was applied to an invoice, or "
            "refunded by others. Compare the two in Zoho, record what is missing by hand, then resolve this step.",
        )
    return None


def refund_amount(refund: Mapping[str, Any], currency: str) -> Money | None:
    """The published list names the amount in base and in the note's own currency; the object and real lists have one."""
    return money_of(refund.get("amount", refund.get("amount_fcy")), currency)


def is_our_refund(refund: Mapping[str, Any], command: RecordRefund) -> bool:
    """Our key whole, `….1` is not `….10`; in the description where somebody wrote a reference of their own."""
    return (
        refund.get("reference_number") == command.step_key
        or command.step_key in text_of(refund.get("description")).split()
    )


def judge_refund(refund: Mapping[str, Any], command: RecordRefund) -> Outcome:
    """A refund names no currency: it is the note's, which was compared before it was written."""
    amount = refund_amount(refund, command.amount.currency)
    match refund.get("creditnote_refund_id"):
        case str() as refund_id if refund_id and amount == command.amount:
            return Done(refund_id)
        case str() as refund_id if refund_id and amount is not None:
            return Permanent(
                "amount_mismatch",
                f"refund {refund_id} in Zoho says {amount}, {command.amount} was asked for: correct it by hand",
            )
        case _:
            return Unknown("Zoho answered with a refund whose fields cannot be read")


def pick_refund(refunds: list[dict[str, Any]], command: RecordRefund) -> Found:
    """Our refund among those of the note. One that a bookkeeper wrote for the same payment to the customer counts as done;
    one of the same amount that does not say what it is for, a person compares.
    """
    ours = [refund for refund in refunds if is_our_refund(refund, command)]
    match ours:
        case [refund]:
            return judge_refund(refund, command)
        case [_, *_]:
            ids = [text_of(refund.get("creditnote_refund_id")) for refund in ours]
            return twice("refunds", ids, command.step_key)
    for refund in refunds:
        amount = refund_amount(refund, command.amount.currency)
        if amount is None:
            return Unknown("Zoho answered with a refund whose amount cannot be read")
        refund_id = text_of(refund.get("creditnote_refund_id"))
        marks = f"{text_of(refund.get('reference_number'))} {text_of(refund.get('description'))}".split()
        if amount != command.amount:
            continue
        if command.refund_reference and command.refund_reference in marks:
            return AlreadyDone(refund_id, f"recorded by somebody else for {command.refund_reference}")
        if not text_of(refund.get("reference_number")).strip():
            return Permanent(
                "ambiguous_refund",
                f"refund {refund_id} over {amount} is on the credit note without any reference. If it is this one, resolve this "
                "step with its id; if not, add a reference to it in Zoho and replay.",
            )
    return NotFound(_SETTLED_S, "no refund of the credit note carries our reference")


# ---------------------------------------------------------------------------------------------------------------------
# Inbound

#: What the inventory's flag may say; both ask for the order's cancellation.
FLAGS: Final = ("unfulfilled", "return-eligible")
EDITED: Final = "salesorder.edited"


@dataclass(frozen=True, slots=True)
class ZohoInbound:
    """Deliveries of a workflow rule on sales orders: `{"salesorder": {…}}`, with a secret of ours in a header. Zoho publishes
    no way to sign them for this product, and the body is only a hint: the order is read again by whoever acts on it.

    `order_platform`: where the orders live (empty: in Zoho); `flag_field`: the label of the custom field with the flag, or
    `status` where the rule writes it there.
    """

    platform: ClassVar[str] = SPEC.platform
    secret: Secret
    order_platform: str = ""
    header: str = "X-Webhook-Secret"
    flag_field: str = "Inventory flag"

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """One state of one order is one event, however often it is sent. A body that is none is kept too, for a person."""
        secrets = split_secrets(self.secret.reveal())
        if not secrets:
            return Refused("no webhook secret is set")
        given = delivery.headers.get(self.header.lower(), "")
        if not is_any(secrets, [given]):
            return Refused(f"the header {self.header} does not hold the secret")
        order = salesorder_in(delivery.body)
        order_id, when = text_of(order.get("salesorder_id")), text_of(order.get("last_modified_time"))
        flag = flag_in(order, self.flag_field)
        named = f"{order_id}\n{flag}\n{when}".encode() if order_id and when else delivery.body
        return Verified(hashlib.sha256(named).hexdigest(), f"salesorder.{flag}" if flag else EDITED)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError for a body without a sales order, and for a flagged one that does not say its number."""
        order = salesorder_in(body)
        if not order:
            raise MalformedError("salesorder", "is missing")
        flag = flag_in(order, self.flag_field)
        if not flag:
            return Irrelevant(f"the order was edited, and '{self.flag_field}' holds no flag")
        number = text_of(order.get("reference_number")).strip()
        if not self.order_platform or self.order_platform == SPEC.platform:
            order_id = text_of(order.get("salesorder_id"))
            number = number or text_of(order.get("salesorder_number")).strip()
            if not is_id(order_id):
                raise MalformedError("salesorder.salesorder_id", "is missing")
            return CancellationRequested(OrderRef(SPEC.platform, order_id, number), reason="inventory")
        if not number:
            raise MalformedError("salesorder.reference_number", "the shop's order number is missing")
        return CancellationRequested(OrderRef(self.order_platform, number=number), reason="inventory")


def salesorder_in(body: bytes) -> Mapping[str, Any]:
    """The sales order of a delivery; empty where there is none."""
    match parse_json(body):
        case {"salesorder": dict() as order}:
            return order
        case _:
            return {}


def flag_in(order: Mapping[str, Any], field: str) -> str:
    """The flag, spelled as in `FLAGS`; empty where the field holds none. The status is looked at only where it was named as
    the field: a word like "unfulfilled" is an innocent status elsewhere.
    """
    if field == "status":
        values = [text_of(order.get("status"))]
    else:
        values = [
            text_of(custom.get("value"))
            for custom in documents(order.get("custom_fields"))
            if text_of(custom.get("label")).strip().casefold() == field.strip().casefold()
        ]
    spelled = [re.sub(r"[\s_]+", "-", value.strip().lower()) for value in values]
    return next((value for value in spelled if value in FLAGS), "")
