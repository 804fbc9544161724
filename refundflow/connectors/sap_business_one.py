"""SAP Business One: an ERP. Cancels sales orders; posts returns, credit memos and outgoing payments; moves no money.

Service Layer (OData V4) of 10.0, `/b1s/v2`, described by the API reference that is shipped with FP 2405 and the `$metadata`
(read 2026-11-25); feature packs of 2021 lack `PaidToDate`, and `CancelStatus` of payments. Authorised by a log-in as a named
user of one company: two cookies, `B1SESSION` and the load balancer's `ROUTEID`, good for some minutes after the last call.

An order is cancelled while nothing was drawn from it. What was delivered comes back by a return, what was invoiced by a credit
memo; a payment that was given back elsewhere is written down as an outgoing payment on the memo. Stock and journal follow from
these documents. Nothing of it returns money, so SAP is never a payer.

Quirks
- There is no idempotency: the same POST twice is two documents. Our step's key stands in a user field of documents and payments
  (`U_RefundflowId`, see `reference_field`), and it is looked for before every write, in the drafts too.
- An approval procedure turns a POST into a draft, told as error -2028 or as 204 without content. A draft is Pending: a person
  decides on it.
- Refusals are 400 with code -5002 and a localised text. Nothing is decided by the text: the document is read again.
- A cancellation document copies the fields of what it reverses, our reference among them, and is not `Cancelled` itself.
- `DocTotal` and `PaidToDate` are in the company's own currency; a foreign one has `DocTotalFc` and `PaidToDateFC`.
- `CancelDate` of an order is when it would lapse, not when it was cancelled.
- Whether a paid invoice can be the base of a credit memo depends on version and settings. Where that was refused, and no memo is
  there, the memo is written without a base. A memo on an open invoice takes its sum off what is due, and leaves that much less
  to be paid out.
- A quantity is a decimal, and a closed line keeps the quantity that was open when it was closed.
- Dates and times are the server's own, without a zone.
- Orders, documents and drafts are one entity type; lists have 20 rows unless asked otherwise, and a relative `@odata.nextLink`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from refundflow.connectors.base import (
    Capability,
    Health,
    Idempotency,
    NoAnswer,
    Operation,
    Polled,
    PolledEvent,
    Spec,
)
from refundflow.domain.commands import CancelOrder, Command, CreditNote, RecordRefund, Restock, VoidInvoice
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
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    Reading,
    Refused,
)
from refundflow.domain.money import Money, exponent_of
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Token, TransportError, Wire, parse_json

_DOC: Final = "https://help.sap.com/doc/056f69366b5345a386bb8149f1700c19/10.0/en-US/Service%20Layer%20API%20Reference.html"

SPEC: Final = Spec(
    platform="sap-business-one",
    api_version="Service Layer v2 (OData V4), 10.0 FP 2405",
    base_url="https://localhost:50000/b1s/v2",
    operations={
        Capability.READ_ORDER: Operation("GET /Orders({docEntry})", Idempotency.READ, _DOC),
        Capability.QUOTE_LINES: Operation("GET /Orders({docEntry})", Idempotency.READ, _DOC),
        Capability.CANCEL_ORDER: Operation("POST /Orders({docEntry})/Cancel", Idempotency.NATURAL, _DOC),
        Capability.RESTOCK: Operation("POST /Returns", Idempotency.LOOKUP, _DOC),
        Capability.READ_INVOICE: Operation("GET /Invoices", Idempotency.READ, _DOC),
        Capability.VOID_INVOICE: Operation(
            "POST /Invoices({docEntry})/CreateCancellationDocument", Idempotency.NATURAL, _DOC
        ),
        Capability.CREDIT_NOTE: Operation("POST /CreditNotes", Idempotency.LOOKUP, _DOC),
        Capability.RECORD_REFUND: Operation("POST /VendorPayments", Idempotency.LOOKUP, _DOC),
        Capability.CHECK: Operation("GET /CreditNotes", Idempotency.READ, _DOC),
        Capability.POLL: Operation("GET /Orders", Idempotency.READ, _DOC),
        # Its webhooks are not described well enough to be trusted: only what polling found is read.
        Capability.INBOUND: Operation("polled orders", Idempotency.READ, _DOC),
    },
    # The product names no limit; its worker processes and sessions are few, and shared with the people at their clients.
    rate_per_s=2.0,
    burst=4,
    # Documents carry the partner with addresses, tax numbers and bank. `message`: refusals quote what was sent to them, and
    # the password is sent in a body.
    redact=frozenset(
        {
            "address2",
            "addressforreturn",
            "bankaccount",
            "b1session",
            "cardname",
            "contactpersoncode",
            "federaltaxid",
            "message",
            "payto",
            "paytobankaccountno",
            "paytobankcode",
            "paytocode",
            "requesteremail",
            "requestername",
            "routeid",
            "shiptocode",
            "vatregnum",
        }
    ),
    read_s=25.0,
)

#: After this long an absence proves that nothing was posted. A write goes out after up to five calls of 28 s, and the server may
#: go on with it when we have given up.
SETTLED_S: Final = 300.0

#: How often a draft is looked at, which waits for a person.
_APPROVAL_S: Final = 1800.0

_PAGE: Final = 100
_MOST_PAGES: Final = 20

#: Longest texts of the columns that we write into.
_COMMENT_CHARS: Final = 254
_TRANSFER_CHARS: Final = 27
_NUMBER_CHARS: Final = 100

ORDERS: Final = "Orders"
DELIVERIES: Final = "DeliveryNotes"
INVOICES: Final = "Invoices"
RETURNS: Final = "Returns"
CREDIT_NOTES: Final = "CreditNotes"
PAYMENTS: Final = "VendorPayments"
DRAFTS: Final = "Drafts"
PAYMENT_DRAFTS: Final = "PaymentDrafts"

#: What `BaseType` says of the document that a line was drawn from.
_ORDER_BASE: Final = 17
_DELIVERY_BASE: Final = 15
_INVOICE_BASE: Final = 13

_FIELD: Final = re.compile(r"NumAtCard|U_\w{1,48}", re.ASCII)
_NONE: Final = ("", "-", "none")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of one company. `company_db`: the company's database (`CompanyDB`); `base_url`: the Service Layer's v2 address
    (`https://sap.shop.example:50000/b1s/v2`); `ca_file`: the certificates that the server's own, usually self-signed, is
    checked against.

    `order_field`: where orders, and what is drawn from them, carry the shop's order number (`NumAtCard`, or a user field like
    `U_ShopOrder`); `invoice_field`: the same for invoices, empty: as for orders; `DocNum` only where the shop numbers its orders
    as SAP its invoices. `reference_field`: the user field (alphanumeric, 50, without `U_`) of documents and payments that our
    reference is put into; `none`: the company has none, then comments and the payment's reference do. `time_zone`: the
    server's; `currencies`: its currency codes that are not ISO 4217 ("$=USD,€=EUR"). `customer_email`: "partner" where each
    customer is a business partner of its own, whose e-mail address is then read with an order.
    """

    base_url: str
    company_db: str
    username: str
    password: Secret
    ca_file: str = ""
    order_field: str = "NumAtCard"
    invoice_field: str = ""
    reference_field: str = "RefundflowId"
    time_zone: str = "UTC"
    currencies: str = ""
    customer_email: str = "none"

    def __post_init__(self) -> None:
        """Raises ValueError for settings that cannot work."""
        if "/b1s/v1" in self.base_url:
            raise ValueError("base_url is the Service Layer's v2 address (…/b1s/v2); v1 answers otherwise")
        if not _FIELD.fullmatch(self.order_field):
            raise ValueError(f"order_field is NumAtCard or a user field (U_…), not {self.order_field!r}")
        if self.invoice_field not in ("", "DocNum") and not _FIELD.fullmatch(self.invoice_field):
            raise ValueError(f"invoice_field is NumAtCard, DocNum or U_…, not {self.invoice_field!r}")
        if self.reference_field not in _NONE and not re.fullmatch(
            r"\w{1,48}", self.reference_field, re.ASCII
        ):
            raise ValueError(f"reference_field is a user field's name, not {self.reference_field!r}")
        if self.customer_email not in ("none", "partner"):
            raise ValueError(f"customer_email is 'none' or 'partner', not {self.customer_email!r}")
        company_of(self)


def company_of(credentials: Credentials) -> Company:
    """The part of the settings that says how the company keeps its documents. Raises ValueError."""
    reference = credentials.reference_field
    return Company(
        order_field=credentials.order_field,
        invoice_field=credentials.invoice_field or credentials.order_field,
        reference="" if reference in _NONE else f"U_{reference.removeprefix('U_')}",
        zone=read_zone(credentials.time_zone),
        currencies=read_currencies(credentials.currencies),
        is_partner_read=credentials.customer_email == "partner",
    )


def read_zone(name: str) -> tzinfo:
    """A time zone by its name. Raises ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"time_zone is a name like Europe/Berlin, not {name!r}") from error


def read_currencies(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of SAP's code and the ISO code. Raises ValueError."""
    pairs = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        own, _, iso = part.partition("=")
        if not own.strip() or not re.fullmatch(r"[A-Z]{3}", iso.strip()):
            raise ValueError(f"currencies are pairs like $=USD, not {part!r}")
        pairs.append((own.strip(), iso.strip()))
    return tuple(pairs)


def build(
    credentials: Credentials, wire: Wire, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> SapBusinessOne:
    """The connector on a wire. `now`: aware; the documents' date is its day in the server's zone."""
    limits: dict[str, Any] = {
        "platform": SPEC.platform,
        "base_url": credentials.base_url,
        "rate_per_s": SPEC.rate_per_s,
        "burst": SPEC.burst,
        "connect_s": SPEC.connect_s,
        "read_s": SPEC.read_s,
        "ca_file": credentials.ca_file,
        "redact": SPEC.redact,
    }
    door = wire.http(**limits)
    http = wire.http(
        **limits,
        # A cookie jar would not do: the log-in's cookies are scoped to its path, and the transport keeps none.
        tokens=wire.session_tokens(door, login_request(credentials), read_login),
        token_header="Cookie",  # noqa: S106 - the name of a header
        token_format="{}",  # noqa: S106 - a format
    )
    return SapBusinessOne(http, company_of(credentials), now)


def login_request(credentials: Credentials) -> Request:
    return Request(
        "POST",
        "/Login",
        "sap-business-one.login",
        json={
            "CompanyDB": credentials.company_db,
            "UserName": credentials.username,
            "Password": credentials.password.reveal(),
        },
    )


_COOKIE: Final = re.compile(r"(?:^|[,;\s])(B1SESSION|ROUTEID)=([^;,\s]+)")


def read_login(response: Response) -> Token | None:
    """The two cookies as the value of one `Cookie` header; None where the log-in was refused. Several `Set-Cookie` headers
    arrive as one, joined by commas; dates inside them have commas too.
    """
    match response.status, response.json:
        case 200, {"SessionId": str(session), **rest} if session:
            cookies = dict(_COOKIE.findall(response.headers.get("set-cookie", "")))
            cookies = {"B1SESSION": session} | cookies
            minutes = rest.get("SessionTimeout")
            life_s = 60.0 * minutes if isinstance(minutes, int) and 0 < minutes < 10_000 else 300.0
            return Token("; ".join(f"{name}={value}" for name, value in cookies.items()), life_s)
        case _:
            return None


# ---------------------------------------------------------------------------------------------------------------------
# What is read


@dataclass(frozen=True, slots=True)
class Company:
    """How a company keeps its documents; see `Credentials`. `reference`: the user field, empty where there is none."""

    order_field: str = "NumAtCard"
    invoice_field: str = "NumAtCard"
    reference: str = "U_RefundflowId"
    zone: tzinfo = UTC
    currencies: tuple[tuple[str, str], ...] = ()
    is_partner_read: bool = False

    def iso(self, code: str) -> str:
        return dict(self.currencies).get(code, code)

    def own(self, iso: str) -> str:
        """SAP's code of a currency."""
        return next((own for own, known in self.currencies if known == iso), iso)


@dataclass(frozen=True, slots=True)
class Line:
    """A document's line. `left`: units that nothing was drawn from yet, whether or not the line is open; `price`: of one unit,
    after the line's discount; `net`, `tax`: of the whole line, in the document's currency (tax None: to be calculated);
    `base`: type, DocEntry and LineNum of what the line was drawn from.
    """

    num: int
    sku: str
    title: str
    quantity: Decimal
    left: Decimal
    price: Decimal
    net: Decimal
    tax: Decimal | None
    percent: Decimal
    tax_code: str
    vat_group: str
    warehouse: str
    account: str
    is_open: bool
    is_without_stock: bool
    base: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Document:
    """A marketing document. `number`: what its `NumAtCard` says; `discount`: percent off all lines; `is_foreign`: not in the
    company's own currency; `values`: the document as it came.
    """

    entry: int
    num: int
    card: str
    number: str
    total: Money
    paid: Money
    is_open: bool
    is_cancelled: bool
    is_cancellation: bool
    is_reserve: bool
    is_foreign: bool
    discount: Decimal
    lines: tuple[Line, ...]
    values: Mapping[str, Any]

    @property
    def is_live(self) -> bool:
        return not self.is_cancelled and not self.is_cancellation

    @property
    def due(self) -> Money:
        return self.total - self.paid

    @property
    def is_drawn(self) -> bool:
        """Whether a later document was made from some of its lines."""
        return any(line.left < line.quantity for line in self.lines)

    def text(self, field: str) -> str:
        return text_of(self.values.get(field))


def read_document(value: Any, company: Company) -> Document | None:
    """A document, or None where something that matters cannot be read."""
    match value:
        case {
            "DocEntry": int(entry),
            "DocNum": int(num),
            "CardCode": str(card),
            "DocCurrency": str(currency),
            "DocumentStatus": str(status),
            "Cancelled": ("tYES" | "tNO") as cancelled,
            "DocumentLines": list(rows),
        }:
            fields: Mapping[str, Any] = value
        case _:
            return None
    is_foreign = bool(decimal_of(fields.get("DocTotalFc", 0)))
    rate = decimal_of(fields.get("DocRate", 1))
    if not is_foreign and rate not in (None, Decimal(0), Decimal(1)) and fields.get("DocTotal"):
        return None  # in another currency, and the sum in it is not told
    iso = company.iso(currency)
    total = money_of(fields.get("DocTotalFc" if is_foreign else "DocTotal"), iso)
    paid = money_of(fields.get("PaidToDateFC" if is_foreign else "PaidToDate", 0), iso)
    discount = decimal_of(fields.get("DiscountPercent", 0))
    lines = [read_line(row, is_foreign=is_foreign) for row in rows]
    if total is None or paid is None or discount is None or not all(lines):
        return None
    # A cancellation is told by `CancelStatus` alone: `Cancelled` says tNO of it in some versions, tYES in others.
    is_cancellation = fields.get("CancelStatus") == "csCancellation"
    return Document(
        entry=entry,
        num=num,
        card=card,
        number=text_of(fields.get("NumAtCard")),
        total=total,
        paid=paid,
        is_open=status == "bost_Open",
        is_cancelled=not is_cancellation and (cancelled == "tYES" or fields.get("CancelStatus") == "csYes"),
        is_cancellation=is_cancellation,
        is_reserve=fields.get("ReserveInvoice") == "tYES",
        is_foreign=is_foreign,
        discount=discount,
        lines=tuple(filter(None, lines)),
        values=fields,
    )


def read_line(value: Any, *, is_foreign: bool) -> Line | None:
    match value:
        case {"LineNum": int(num), "Quantity": quantity, **fields} if not isinstance(num, bool):
            units = decimal_of(quantity)
            # Where it is not told, nothing counts as open: what then looks drawn or spent goes to a person.
            left = decimal_of(fields.get("RemainingOpenQuantity")) or Decimal(0)
            price = decimal_of(fields.get("Price", fields.get("UnitPrice")))
            net = decimal_of(fields.get("RowTotalFC" if is_foreign else "LineTotal"))
            percent = decimal_of(fields.get("TaxPercentagePerRow", 0))
        case _:
            return None
    if units is None or price is None or net is None or percent is None:
        return None
    return Line(
        num=num,
        sku=text_of(fields.get("ItemCode")),
        title=text_of(fields.get("ItemDescription")),
        quantity=units,
        left=left,
        price=price,
        net=net,
        tax=None if is_foreign else decimal_of(fields.get("TaxTotal")),
        percent=percent,
        tax_code=text_of(fields.get("TaxCode")),
        vat_group=text_of(fields.get("VatGroup")),
        warehouse=text_of(fields.get("WarehouseCode")),
        account=text_of(fields.get("AccountCode")),
        is_open=fields.get("LineStatus") == "bost_Open",
        is_without_stock=fields.get("WithoutInventoryMovement") == "tYES",
        base=read_base(fields),
    )


def read_base(fields: Mapping[Any, Any]) -> tuple[int, int, int] | None:
    match [fields.get(name) for name in ("BaseType", "BaseEntry", "BaseLine")]:
        case [int(kind), int(entry), int(line)] if kind > 0:
            return kind, entry, line
        case _:
            return None


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


_SIX_PLACES: Final = Decimal("0.000001")
_LARGEST: Final = Decimal(10**15)


def decimal_of(value: object) -> Decimal | None:
    """A JSON number with the six decimals that SAP keeps: a double's noise behind them is none of ours."""
    match value:
        case bool():
            return None
        case int() | Decimal() if -_LARGEST < value < _LARGEST:
            number = Decimal(value).quantize(_SIX_PLACES).normalize()
            return number or Decimal(0)
        case _:
            return None


def money_of(value: object, currency: str) -> Money | None:
    number = decimal_of(value)
    if number is None or not re.fullmatch(r"[A-Z]{3}", currency):
        return None
    try:
        return Money.from_major(number, currency)
    except ValueError:
        return None


def worth_of(document: Document, line: Line, units: Decimal) -> Money:
    """What so many units of a line come to, tax and discounts included, calculated as SAP does: row by row, tax rounded by itself."""
    currency = document.total.currency
    if units == line.quantity and not document.discount and line.tax is not None:
        return _rounded(line.net + line.tax, currency)
    share = units / line.quantity if line.quantity else Decimal(0)
    net = _rounded(line.net * share * (1 - document.discount / 100), currency)
    return net + _rounded(Decimal(net.major) * line.percent / 100, currency)


def _rounded(value: Decimal, currency: str) -> Money:
    places = Decimal(1).scaleb(-exponent_of(currency))
    return Money.from_major(value.quantize(places, ROUND_HALF_UP), currency)


# ---------------------------------------------------------------------------------------------------------------------
# The connector


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a write would be found. `kind`: its collection; `object_code`: of its drafts; `where`: the filter that
    finds it; `mark`: the text that tells it from others, in `field` (a word of it where the field is for people).
    """

    kind: str
    object_code: str
    where: str
    field: str
    mark: str

    def is_on(self, values: Mapping[str, Any]) -> bool:
        """Whether a paper carries our mark, whole: `….1` must not be taken for `….10`."""
        text = text_of(values.get(self.field))
        return self.mark in text.split() if self.field == "Comments" else text == self.mark


_C = TypeVar("_C", bound=Command)


@dataclass(frozen=True, slots=True)
class SapBusinessOne:
    """One company. An order platform or its mirror, stock owner, books, and polled; ids are `DocEntry`."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    company: Company = Company()
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def check(self) -> Health:
        return read_health(self.http.send(check_request(self.company)), self.company)

    # ------------------------------------------------------------ orders

    def read_order(self, ref: OrderRef) -> OrderFacts | NotFound | NoAnswer:
        """One call while nothing was drawn from the order, else one per page of its deliveries and of its invoices; one more
        where the partner's e-mail address is read.
        """
        order = self._order(ref)
        if not isinstance(order, Document):
            return order
        deliveries: list[Document] = []
        invoices: list[Document] = []
        number = order.text(self.company.order_field)
        if order.is_drawn and number and not order.is_cancelled:
            for kind, found in ((DELIVERIES, deliveries), (INVOICES, invoices)):
                where = (
                    f"CardCode eq {literal(order.card)} and {where_text(self.company.order_field, number)}"
                )
                drawn = self._documents(kind, "read_order", where)
                if not isinstance(drawn, list):
                    return drawn
                found += [each for each in drawn if each.is_live]
        person = Person()
        if self.company.is_partner_read:
            told = read_partner(self.http.send(partner_request(order.card)))
            if not isinstance(told, Person):
                return told
            person = told
        return order_facts(order, deliveries, invoices, self.company, person)

    def quote_lines(self, order: OrderFacts, lines: tuple[LineQuantity, ...]) -> Money | NoAnswer:
        """At the order's own prices, tax and the discount on the whole order included; freight is on no line."""
        match self._document(ORDERS, "quote_lines", order.order_id):
            case Document() as document:
                return quote_order(document, lines)
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no

    def cancel_order(self, command: CancelOrder) -> Outcome:
        """Reads the order, cancels it, and reads it again. `restock` makes no difference: a cancel sets free what was
        reserved, and moves nothing that is on hand.
        """
        match self._document(ORDERS, "cancel_order", command.order_id):
            case Document() as order:
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no
        if order.is_cancelled:
            return AlreadyDone(str(order.entry), f"order {order.num} was cancelled before")
        refusal = cancel_refusal(order)
        if refusal:
            return refusal
        match read_action(self.http.send(cancel_request(order.entry))):
            case Refusal() as refused:
                return settle_refusal(refused, look_after(self.find_cancel_order, command))
            case Accepted():
                return confirm(look_after(self.find_cancel_order, command), "the cancel")
            case outcome:
                return outcome

    def find_cancel_order(self, command: CancelOrder) -> Found:
        match self._document(ORDERS, "find_cancel_order", command.order_id):
            case Document(is_cancelled=True) as order:
                return Done(str(order.entry), f"order {order.num} is cancelled")
            case Document() as order:
                return NotFound(SETTLED_S, f"order {order.num} is not cancelled")
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case no:
                return not_seen(no)

    # ------------------------------------------------------------ stock

    def restock(self, command: Restock) -> Outcome:
        """Proves what another step carried; books shipped units that came back as a return of their deliveries. What is
        neither is for a person: SAP moves stock by documents only, and a free goods receipt would belong to no order.
        """
        if command.carried_by:
            match self.find_restock(command):
                case NotFound(reason=reason):
                    return Retryable("not_there", reason, 5.0)
                case found:
                    return found
        if not command.is_return:
            return not_by_call(command)
        trace = return_trace(command, self.company)
        if not isinstance(trace, Trace):
            return trace
        where = where_number(self.company.order_field, command.order_number)
        if not where:
            return Permanent(
                "unknown_reference", "the order's number is not known, so its deliveries are not"
            )
        before = self._find_return(command, trace)
        if not isinstance(before, NotFound):
            return already(before)
        deliveries = self._documents(DELIVERIES, "restock", where)
        if not isinstance(deliveries, list):
            return deliveries
        rows = return_rows(deliveries, command)
        if isinstance(rows, Permanent):
            return rows
        request = return_request(rows, command, self.company, self._today())
        match read_created(self.http.send(request)):
            case Refusal() as refused:
                return settle_refusal(refused, look_after(self.find_restock, command))
            case Accepted():
                return confirm(look_after(self.find_restock, command), "the return")
            case dict() as made:
                return judge_return(read_document(made, self.company), command)
            case outcome:
                return outcome

    def find_restock(self, command: Restock) -> Found:
        if command.carried_by:
            return self._find_carrier(command)
        if not command.is_return:
            return NotFound(0.0, "nothing is sent for it")
        trace = return_trace(command, self.company)
        if not isinstance(trace, Trace):
            return trace
        return seen(self._find_return(command, trace))

    def _find_return(self, command: Restock, trace: Trace) -> Found | Blind:
        match self._trace(trace, "find_restock"):
            case Document() as document:
                return judge_return(document, command)
            case found:
                return found

    def _find_carrier(self, command: Restock) -> Found:
        """The order that was cancelled, or else the credit memo of the step that carries it."""
        if command.order_id:
            match self._document(ORDERS, "find_restock", command.order_id):
                case Document(is_cancelled=True) as order:
                    return Done(
                        str(order.entry), f"order {order.num} is cancelled: nothing is reserved for it"
                    )
                case Document() | NotFound():
                    pass
                case no:
                    return not_seen(no)
        trace = carrier_trace(command, self.company)
        if not isinstance(trace, Trace):
            return trace
        match self._trace(trace, "find_restock"):
            case Document() as memo:
                return judge_carrier(memo, command)
            case found:
                return seen(found)

    # ------------------------------------------------------------ books

    def read_invoice(self, number: str) -> InvoiceFacts | NotFound | NoAnswer:
        """One call for the invoice, one for the credit memos under its number."""
        where = where_number(self.company.invoice_field, number)
        if not where:
            return NotFound(0.0, f"no invoice can have the number {number!r}")
        invoices = self._documents(INVOICES, "read_invoice", where)
        if not isinstance(invoices, list):
            return invoices
        invoice = pick_live(invoices, f"invoices under {number}")
        if not isinstance(invoice, Document):
            return invoice or NotFound(0.0, f"no invoice with {self.company.invoice_field} {number}")
        memos: list[Document] | NoAnswer = []
        if invoice.number and invoice.is_live:
            card = f"CardCode eq {literal(invoice.card)}"
            where = f"{card} and {where_text('NumAtCard', invoice.number)}"
            memos = self._documents(CREDIT_NOTES, "read_invoice", where)
        return invoice_facts(invoice, memos) if isinstance(memos, list) else memos

    def void_invoice(self, command: VoidInvoice) -> Outcome:
        """Reads the invoice, posts its cancellation, and reads it again. Stock that the invoice had issued comes back by it."""
        match self._document(INVOICES, "void_invoice", command.invoice.invoice_id):
            case Document() as invoice:
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no
        if invoice.is_cancelled:
            return AlreadyDone(str(invoice.entry), f"invoice {invoice.num} was cancelled before")
        refusal = void_refusal(invoice)
        if refusal:
            return refusal
        match read_action(self.http.send(void_request(invoice.entry))):
            case Refusal() as refused:
                return settle_refusal(refused, look_after(self.find_void_invoice, command))
            case Accepted():
                return confirm(look_after(self.find_void_invoice, command), "the cancellation")
            case outcome:
                return outcome

    def find_void_invoice(self, command: VoidInvoice) -> Found:
        match self._document(INVOICES, "find_void_invoice", command.invoice.invoice_id):
            case Document(is_cancelled=True) as invoice:
                return Done(str(invoice.entry), f"invoice {invoice.num} is cancelled")
            case Document() as invoice:
                return NotFound(SETTLED_S, f"invoice {invoice.num} is not cancelled")
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case no:
                return not_seen(no)

    def credit_note(self, command: CreditNote) -> Outcome:
        """Looks for the memo, reads the invoice, and writes the memo on its lines. Where that was refused for an invoice that
        is settled, and a second look finds no memo, it is written without the invoice as its base.
        """
        found = self._find_memo(command)
        if not isinstance(found, NotFound):
            return already(found)
        match self._document(INVOICES, "credit_note", command.invoice.invoice_id):
            case Document() as invoice:
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no
        rows = memo_rows(invoice, command)
        if isinstance(rows, Permanent):
            return rows
        based = memo_request(
            invoice, [base_row(invoice, row) for row in rows], command, self.company, self._today()
        )
        outcome = read_created(self.http.send(based))
        if not isinstance(outcome, Refusal):
            return self._judge_created(outcome, command)
        after = look_after(self.find_credit_note, command)
        free = [free_row(row) for row in rows]
        if not isinstance(after, NotFound) or not may_go_without_base(invoice, outcome) or not all(free):
            return settle_refusal(outcome, after)
        lines = [row for row in free if row]
        unbased = memo_request(invoice, lines, command, self.company, self._today())
        match read_created(self.http.send(unbased)):
            case Refusal(code=code, reason=reason):
                both = Refusal(code, f"{reason}; and on the invoice's lines: {outcome.reason}")
                return settle_refusal(both, look_after(self.find_credit_note, command))
            case made:
                return self._judge_created(made, command)

    def find_credit_note(self, command: CreditNote) -> Found:
        return seen(self._find_memo(command))

    def _find_memo(self, command: CreditNote) -> Found | Blind:
        trace = memo_trace(command, self.company)
        match self._trace(trace, "find_credit_note"):
            case Document() as memo:
                return judge_memo(memo, command)
            case found:
                return found

    def _judge_created(self, made: Created, command: CreditNote) -> Outcome:
        match made:
            case dict():
                return judge_memo(read_document(made, self.company), command)
            case Accepted():
                return confirm(look_after(self.find_credit_note, command), "the credit memo")
            case Refusal() as refused:
                return settle_refusal(refused, look_after(self.find_credit_note, command))
            case outcome:
                return outcome

    def record_refund(self, command: RecordRefund) -> Outcome:
        """Looks for the payment, reads the credit memo that it is paid on, and posts it."""
        found = self._find_payment(command)
        if not isinstance(found, NotFound):
            return already(found)
        match self._document(CREDIT_NOTES, "record_refund", command.credit_note_id):
            case Document() as memo:
                pass
            case NotFound(reason=reason):
                return Permanent("not_found", reason)
            case no:
                return no
        refusal = payment_refusal(memo, command)
        if refusal:
            return refusal
        match read_created(self.http.send(payment_request(memo, command, self.company, self._today()))):
            case Refusal() as refused:
                return settle_refusal(refused, look_after(self.find_record_refund, command))
            case Accepted():
                return confirm(look_after(self.find_record_refund, command), "the payment")
            case dict() as made:
                return judge_payment(made, command, self.company)
            case outcome:
                return outcome

    def find_record_refund(self, command: RecordRefund) -> Found:
        return seen(self._find_payment(command))

    def _find_payment(self, command: RecordRefund) -> Found | Blind:
        trace = payment_trace(command, self.company)
        select = payment_fields(self.company)
        rows = self._rows(PAYMENTS, "find_record_refund", trace.where, select)
        if not isinstance(rows, list):
            return Blind(rows)
        match pick_ours(rows, trace):
            case dict() as payment:
                return judge_payment(payment, command, self.company)
            case Permanent() | Unknown() as no:
                return no
            case None:
                return self._find_draft(trace, PAYMENT_DRAFTS, "find_record_refund", select)

    # ------------------------------------------------------------ polling

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        """Orders cancelled since the cursor's day. The day is the finest that can be asked for, so each look goes over the day
        before again; what comes twice has the same id.
        """
        at = read_cursor(cursor, now.astimezone(self.company.zone).date())
        match read_page(self.http.send(poll_request(at, self.company))):
            case Page() as page:
                return read_polled(page, at, now.astimezone(self.company.zone).date(), self.company)
            case no:
                return no

    # ------------------------------------------------------------ looking

    def _today(self) -> date:
        return self.now().astimezone(self.company.zone).date()

    def _order(self, ref: OrderRef) -> Document | NotFound | NoAnswer:
        if ref.order_id:
            return self._document(ORDERS, "read_order", ref.order_id)
        where = where_number(self.company.order_field, ref.number)
        if not where:
            return Permanent("unknown_reference", "neither an id nor a number of the order was given")
        orders = self._documents(ORDERS, "read_order", where)
        if not isinstance(orders, list):
            return orders
        return pick_live(orders, f"orders under {ref.number}") or NotFound(
            0.0, f"no order with {self.company.order_field} {ref.number}"
        )

    def _document(self, kind: str, operation: str, entry: str) -> Document | NotFound | NoAnswer:
        """One document by its id."""
        if not re.fullmatch(r"[1-9]\d{0,9}", entry, re.ASCII):
            return Permanent("unknown_reference", f"{entry!r:.60} is no DocEntry of {kind}")
        response = self.http.send(document_request(kind, operation, entry, self.company))
        match response.status, response.json:
            case 200, dict() as value:
                document = read_document(value, self.company)
                if document is None or document.entry != int(entry):
                    return Unknown(f"{kind}({entry}) cannot be read")
                return document
            case 404, body if error_of(body):
                return NotFound(0.0, f"SAP has no {kind}({entry})")
            case _:
                return read_trouble(response)

    def _documents(self, kind: str, operation: str, where: str) -> list[Document] | NoAnswer:
        """Every document that the filter lets through."""
        rows = self._rows(kind, operation, where, document_fields(self.company))
        if not isinstance(rows, list):
            return rows
        documents = [read_document(row, self.company) for row in rows]
        if not all(documents):
            return Unknown(f"one of the {kind} found cannot be read")
        return [document for document in documents if document]

    def _rows(
        self, kind: str, operation: str, where: str, select: Sequence[str]
    ) -> list[dict[str, Any]] | NoAnswer:
        """Every row of a list, over all its pages, or why it could not be had whole."""
        rows: list[dict[str, Any]] = []
        request = list_request(kind, operation, where, select)
        for _ in range(_MOST_PAGES):
            page = read_page(self.http.send(request))
            if not isinstance(page, Page):
                return page
            rows += page.rows
            if not page.next_query:
                return rows
            # Of the link only the query is followed: the path stays ours, whatever an answer says.
            request = replace(request, path=f"/{kind}?{page.next_query}")
        return Unknown(f"the list of {kind} goes on after {_MOST_PAGES} pages")

    def _trace(self, trace: Trace, operation: str) -> Document | Found | Blind:
        """The one document that carries our mark; where there is none, what became of its draft."""
        select = document_fields(self.company)
        rows = self._rows(trace.kind, operation, trace.where, select)
        if not isinstance(rows, list):
            return Blind(rows)
        match pick_ours(rows, trace):
            case dict() as row:
                return read_document(row, self.company) or Unknown(
                    f"the {trace.kind} found under {trace.mark} cannot be read"
                )
            case Permanent() | Unknown() as no:
                return no
            case None:
                # A draft first becomes a document and then says so, hence the documents are read before.
                return self._find_draft(
                    trace, DRAFTS, operation, (*select, "DocObjectCode", "AuthorizationStatus")
                )

    def _find_draft(self, trace: Trace, kind: str, operation: str, select: Sequence[str]) -> Found | Blind:
        rows = self._rows(kind, operation, trace.where, select)
        if not isinstance(rows, list):
            return Blind(rows)
        return judge_drafts(rows, trace)


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def literal(text: str) -> str:
    """A text as OData writes it: in single quotes, which are doubled inside."""
    return "'" + text.replace("'", "''") + "'"


def where_text(field: str, text: str) -> str:
    return f"{field} eq {literal(text)}"


def bare_number(number: str) -> str:
    """An order's number without the `#` that some platforms put before it."""
    return number.strip().lstrip("#")


def where_number(field: str, number: str) -> str:
    """The filter for an order's number, with or without its leading `#`; empty where no document can have it."""
    bare = bare_number(number)
    if not bare or len(bare) > _NUMBER_CHARS:
        return ""
    if field == "DocNum":
        return f"DocNum eq {int(bare)}" if re.fullmatch(r"\d{1,9}", bare, re.ASCII) else ""
    return f"({where_text(field, bare)} or {where_text(field, '#' + bare)})"


#: What is read of a document; the partner's name and addresses are not.
_HEAD: Final = (
    *("DocEntry", "DocNum", "CardCode", "NumAtCard", "DocumentStatus", "Cancelled", "CancelStatus"),
    *("DocCurrency", "DocRate", "DocTotal", "DocTotalFc", "PaidToDate", "PaidToDateFC", "DiscountPercent"),
    *("ReserveInvoice", "CreationDate", "DocTime", "UpdateDate", "UpdateTime", "DocumentLines"),
)


def document_fields(company: Company) -> tuple[str, ...]:
    more = (company.reference or "Comments", company.order_field, company.invoice_field)
    return (*_HEAD, *dict.fromkeys(name for name in more if name not in _HEAD))


def payment_fields(company: Company) -> tuple[str, ...]:
    return (
        *("DocEntry", "DocNum", "CardCode", "DocCurrency", "TransferSum", "TransferReference"),
        *("Cancelled", "CancelStatus", "AuthorizationStatus", "PaymentInvoices"),
        *((company.reference,) if company.reference else ()),
    )


def list_request(kind: str, operation: str, where: str, select: Sequence[str]) -> Request:
    return Request(
        "GET",
        f"/{kind}?{query_of({'$select': ','.join(select), '$filter': where})}",
        f"sap-business-one.{operation}",
        headers={"Prefer": f"odata.maxpagesize={_PAGE}"},
    )


def query_of(options: Mapping[str, str]) -> str:
    """Written by hand, because a form's `+` for a space and its `%24` for `$` are not OData's own way of saying it."""
    return "&".join(f"{name}={quote_value(value)}" for name, value in options.items())


def quote_value(value: str) -> str:
    return quote(value, safe=",()")


def document_request(kind: str, operation: str, entry: str, company: Company) -> Request:
    query = query_of({"$select": ",".join(document_fields(company))})
    return Request("GET", f"/{kind}({entry})?{query}", f"sap-business-one.{operation}")


def partner_request(card: str) -> Request:
    key = quote(literal(card), safe="'")
    return Request(
        "GET",
        f"/BusinessPartners({key})?$select=CardName,EmailAddress",
        "sap-business-one.read_order",
    )


def check_request(company: Company) -> Request:
    """Credit memos, with our user field: a company that lacks it says so here."""
    select = ",".join(filter(None, ("DocEntry", company.reference)))
    return Request("GET", f"/CreditNotes?$top=1&$select={select}", "sap-business-one.check")


def cancel_request(entry: int) -> Request:
    return Request("POST", f"/Orders({entry})/Cancel", "sap-business-one.cancel_order")


def void_request(entry: int) -> Request:
    return Request("POST", f"/Invoices({entry})/CreateCancellationDocument", "sap-business-one.void_invoice")


def mark_of(step_key: str, company: Company) -> dict[str, str]:
    return {company.reference: step_key} if company.reference else {}


def comment_of(step_key: str, text: str) -> str:
    """Our key as a word of its own: where there is no user field, a look finds the document by it."""
    return f"refundflow {step_key} {text}".strip()[:_COMMENT_CHARS]


def return_request(rows: Sequence[ReturnRow], command: Restock, company: Company, today: date) -> Request:
    place = {"WarehouseCode": command.location} if command.location else {}
    body = {
        "CardCode": rows[0].card,
        "DocDate": today.isoformat(),
        "NumAtCard": bare_number(command.order_number),
        "Comments": comment_of(command.step_key, "goods came back"),
        **mark_of(command.step_key, company),
        "DocumentLines": [
            {
                "BaseType": _DELIVERY_BASE,
                "BaseEntry": row.entry,
                "BaseLine": row.line,
                "Quantity": row.units,
                **place,
            }
            for row in rows
        ],
    }
    return Request("POST", "/Returns", "sap-business-one.restock", json=body)


def memo_request(
    invoice: Document,
    lines: Sequence[Mapping[str, Any]],
    command: CreditNote,
    company: Company,
    today: date,
) -> Request:
    body = {
        "CardCode": invoice.card,
        "DocDate": today.isoformat(),
        "DocCurrency": company.own(command.amount.currency),
        "NumAtCard": command.invoice.number,
        "Comments": comment_of(
            command.step_key, f"{command.number} for invoice {invoice.num}: {command.memo}"
        ),
        # The discount on the whole document is not drawn with the lines.
        **({"DiscountPercent": invoice.discount} if invoice.discount else {}),
        **mark_of(command.step_key, company),
        "DocumentLines": list(lines),
    }
    return Request("POST", "/CreditNotes", "sap-business-one.credit_note", json=body)


def base_row(invoice: Document, row: MemoRow) -> dict[str, Any]:
    return {
        "BaseType": _INVOICE_BASE,
        "BaseEntry": invoice.entry,
        "BaseLine": row.line.num,
        "Quantity": number_of(row.units),
        **({} if row.restock else {"WithoutInventoryMovement": "tYES"}),
    }


def free_row(row: MemoRow) -> dict[str, Any] | None:
    """The same without the invoice; None for a line without an article, which only its base can tell."""
    line = row.line
    if not line.sku:
        return None
    tax = {"TaxCode": line.tax_code} if line.tax_code else {"VatGroup": line.vat_group}
    return {
        "ItemCode": line.sku,
        "Quantity": number_of(row.units),
        "UnitPrice": number_of(line.price),
        **{name: code for name, code in tax.items() if code},
        **({"WarehouseCode": line.warehouse} if line.warehouse else {}),
        **({} if row.restock else {"WithoutInventoryMovement": "tYES"}),
    }


def payment_request(memo: Document, command: RecordRefund, company: Company, today: date) -> Request:
    amount = number_of(Decimal(command.amount.major))
    body = {
        "DocType": "rCustomer",
        "CardCode": memo.card,
        "DocDate": today.isoformat(),
        "DocCurrency": company.own(command.amount.currency),
        "TransferAccount": command.account_code,
        "TransferDate": today.isoformat(),
        "TransferSum": amount,
        "TransferReference": transfer_reference(command, company),
        "Remarks": comment_of(command.step_key, command.refund_reference),
        **mark_of(command.step_key, company),
        "PaymentInvoices": [
            {
                "DocEntry": memo.entry,
                "InvoiceType": "it_CredItnote",
                "SumApplied": amount,
                "InstallmentId": 1,
            }
        ],
    }
    return Request("POST", "/VendorPayments", "sap-business-one.record_refund", json=body)


def transfer_reference(command: RecordRefund, company: Company) -> str:
    """The payer's id of the refund, its end where it is too long; our own reference where no user field can carry it."""
    return (
        command.refund_reference[-_TRANSFER_CHARS:]
        if company.reference
        else short_reference(command.step_key)
    )


def short_reference(step_key: str) -> str:
    """A step's key in the 27 characters of a payment's reference: the words of its kind by their first letters."""
    case_id, _, rest = step_key.partition(".")
    kind, _, number = rest.rpartition(".")
    return f"{case_id}.{''.join(word[:1] for word in kind.split('_'))}.{number}"


def number_of(value: Decimal) -> int | Decimal:
    """A JSON number without needless zeros, never in exponent notation."""
    return int(value) if value == value.to_integral_value() else value


# ---------------------------------------------------------------------------------------------------------------------
# Answers: the envelope


@dataclass(frozen=True, slots=True)
class Refusal:
    """SAP refused a write: nothing was posted, though a draft may have been made. Why is told in a text only."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A yes without the document: what it came to has to be looked up."""


@dataclass(frozen=True, slots=True)
class Blind:
    """A look that SAP refused: no word about the effect."""

    outcome: NoAnswer


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next_query`: the query of the next one, empty on the last."""

    rows: list[dict[str, Any]]
    next_query: str


Created = dict[str, Any] | Accepted | Refusal | Retryable | Unknown

#: What a POST is told whose document became a draft; also where something that it names does not exist.
NO_RECORD: Final = "-2028"

#: What people should know about codes whose text says little.
HINTS: Final[Mapping[str, str]] = {
    "-304": "the log-in was refused",
    "-1116": "a check of the company's own refused it",
    "-2035": "such a record exists already",
    "-2039": "somebody else changed the record meanwhile",
    "-6006": "the user has no authorisation for it",
    "301": "the session is over",
}


def error_of(body: object) -> Refusal | None:
    """A Service Layer error, in v2's shape or v1's; None for anything else, a proxy's page for one."""
    match body:
        case {"error": {"code": int() | str() as code, "message": str(text)}}:
            pass
        case {"error": {"code": int() | str() as code, "message": {"value": str(text)}}}:
            pass
        case _:
            return None
    hint = HINTS.get(str(code), "")
    return Refusal(str(code), f"{hint}: {text}" if hint else text)


def read_trouble(response: Response) -> NoAnswer:
    """A read that was not answered: it did nothing, so where SAP is only busy it can be tried again."""
    match response.status:
        case 401 | 403:
            return unauthorised(response)
        case 429:
            return throttled(response)
        case 500 | 502 | 503 | 504:
            return Retryable("unavailable", f"SAP answered {response.status}", response.retry_after_s)
        case status if 400 <= status < 500 and (refusal := error_of(response.json)):
            return Permanent(refusal.code, refusal.reason)
        case status:
            return Unknown(f"no clear answer, status {status}")


def read_write_trouble(response: Response) -> Refusal | Retryable | Unknown:
    """A write that was not answered with a yes. A 5xx may have acted; a refusal is one only in SAP's own words."""
    match response.status:
        case 401 | 403:
            return unauthorised(response)
        case 429:
            return throttled(response)
        case status if 400 <= status < 500 and (refusal := error_of(response.json)):
            return refusal
        case status:
            return Unknown(f"no clear answer, status {status}")


def unauthorised(response: Response) -> Retryable:
    return Retryable(
        "unauthorised",
        f"SAP refuses our session ({response.status}): check the company, user and password in REFUNDFLOW_SAP_BUSINESS_ONE_…, and the "
        "user's licence and authorisations",
    )


def throttled(response: Response) -> Retryable:
    return Retryable("throttled", "SAP is asked too often", response.retry_after_s)


def read_page(response: Response) -> Page | NoAnswer:
    match response.status, response.json:
        case 200, {"value": list(rows), **rest} if all(isinstance(row, dict) for row in rows):
            link = rest.get("@odata.nextLink", rest.get("odata.nextLink"))
            if link is None:
                return Page(rows, "")
            query = link.partition("?")[2] if isinstance(link, str) else ""
            return Page(rows, query) if query else Unknown("a list goes on, and does not say where")
        case _:
            return read_trouble(response)


def read_action(response: Response) -> Accepted | Refusal | Retryable | Unknown:
    """The answer to an action on a document. What it came to is read from the document afterwards."""
    match response.status, response.json:
        case 204, _:
            return Accepted()
        case 200 | 201, {"DocEntry": int()}:
            return Accepted()
        case _:
            return read_write_trouble(response)


def read_created(response: Response) -> Created:
    match response.status, response.json:
        case 200 | 201, {"DocEntry": int()}:
            made: dict[str, Any] = response.json
            return made
        case 204, _:
            return Accepted()
        case _:
            return read_write_trouble(response)


def look_after(find: Callable[[_C], Found], command: _C) -> Found:
    """A look within a call that was sent. Trouble on the wire of the look must not be told as trouble of the call: "not
    sent" would be taken for "nothing happened".
    """
    try:
        return find(command)
    except TransportError as error:
        return Unknown(f"could not look: {error.args[0]}")


def settle_refusal(refused: Refusal, found: Found) -> Outcome:
    """Decides a refusal by what a look found afterwards: done already, waiting as a draft, or never."""
    match found:
        case NotFound() if refused.code == NO_RECORD:
            return Permanent(
                "draft_unseen",
                f"SAP says that there is no such record ({refused.reason}): either something that was named is not there, or an approval "
                "procedure made a draft that our user may not see. Look into the drafts in SAP before you replay this step",
            )
        case NotFound():
            return Permanent(refused.code, refused.reason)
        case Done(reference=reference, detail=detail):
            return AlreadyDone(reference, detail)
        case Retryable(reason=trouble) | Unknown(reason=trouble):
            return Unknown(
                f"refused ({refused.reason}), and the look did not tell whether it is there: {trouble}"
            )
        case outcome:
            return outcome


def confirm(found: Found, what: str) -> Outcome:
    """What a yes without a document is worth: what the look finds."""
    match found:
        case NotFound(reason=reason):
            return Unknown(f"SAP accepted {what}, and does not show it: {reason}")
        case Retryable(reason=reason):
            return Unknown(f"SAP accepted {what}, and could not be asked: {reason}")
        case outcome:
            return outcome


def not_seen(failure: NoAnswer) -> Retryable | Unknown:
    """A look that was refused: a no to the question is no word about the effect."""
    match failure:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


def seen(found: Found | Blind) -> Found:
    """A look as its caller needs it to be told."""
    return not_seen(found.outcome) if isinstance(found, Blind) else found


def already(found: Found | Blind) -> Outcome:
    """What a look before a write means for it. Nothing was sent: a look that SAP refused is its refusal."""
    match found:
        case Done(reference=reference, detail=detail):
            return AlreadyDone(reference, detail)
        case Blind(outcome=Permanent(code=code, reason=reason)):
            return Permanent(
                code, f"{reason} (when looking whether it is there already; does the user field exist?)"
            )
        case Blind(outcome=Unknown(reason=reason)):
            return Retryable("unreadable", reason)
        case Blind(outcome=outcome):
            return outcome
        case NotFound(reason=reason):
            return Unknown(reason)
        case outcome:
            return outcome


def pick_live(documents: Sequence[Document], what: str) -> Document | Permanent | None:
    """The one document that counts; of cancelled ones the last; None where there is none. Several that count are never
    chosen from: an order that was split is two orders, whichever of them is still open.
    """
    originals = [document for document in documents if not document.is_cancellation]
    live = [document for document in originals if document.is_live]
    if len(live) > 1:
        entries = ", ".join(str(document.entry) for document in live)
        return Permanent(
            "ambiguous", f"there are several {what} (DocEntry {entries}): a person must say which"
        )
    return max(live or originals, key=lambda document: document.entry, default=None)


def document_status(row: Mapping[str, Any]) -> str:
    """live | cancelled | cancellation | "" where it cannot be told."""
    match row:
        case {"CancelStatus": "csCancellation"}:
            return "cancellation"
        case {"CancelStatus": "csYes"} | {"Cancelled": "tYES"}:
            return "cancelled"
        case {"Cancelled": "tNO"}:
            return "live"
        case _:
            return ""


def pick_ours(rows: Iterable[dict[str, Any]], trace: Trace) -> dict[str, Any] | Permanent | Unknown | None:
    """The one document or payment that carries our mark and counts; None where none carries it."""
    ours = [(row, document_status(row)) for row in rows if trace.is_on(row)]
    if any(not status for _, status in ours):
        return Unknown(f"whether the {trace.kind} under {trace.mark} counts cannot be read")
    live = [row for row, status in ours if status == "live"]
    gone = [row for row, status in ours if status == "cancelled"]
    match live, gone:
        case [one], _:
            return one
        case [], []:
            return None
        case [], _:
            return Permanent(
                "cancelled",
                f"{trace.kind}({gone[-1].get('DocEntry')}) was posted under {trace.mark} and is cancelled since: a person undid it. Clear "
                f"its {trace.field} in SAP if this step shall be replayed",
            )
        case _:
            entries = ", ".join(str(row.get("DocEntry")) for row in live)
            return Permanent(
                "found_twice",
                f"several {trace.kind} carry {trace.mark} (DocEntry {entries}): compare them, and cancel what is too much",
            )


#: What the approval procedure says of a draft. `without`: none is at work, somebody has saved it.
_WAITING: Final = frozenset({"without", "pending", "approved"})
_REFUSED: Final = frozenset({"rejected", "cancelled"})


def judge_drafts(rows: Iterable[Mapping[str, Any]], trace: Trace) -> Found:
    """What became of the draft that carries our mark."""
    waiting: list[Any] = []
    refused: list[Any] = []
    for row in rows:
        if not trace.is_on(row) or (trace.object_code and row.get("DocObjectCode") != trace.object_code):
            continue
        status = text_of(row.get("AuthorizationStatus"))[3:].lower()
        if status in _WAITING:
            waiting.append(row.get("DocEntry"))
        elif status in _REFUSED:
            refused.append(row.get("DocEntry"))
        else:
            return Unknown(
                f"the draft {row.get('DocEntry')} is {status or 'in no state'}, and its document is not shown"
            )
    if len(waiting) > 1:
        return Permanent(
            "found_twice", f"several drafts carry {trace.mark}: {waiting}; remove what is too much"
        )
    if waiting:
        return Pending(f"draft {waiting[0]}", _APPROVAL_S)
    if refused:
        return Permanent(
            "approval_rejected",
            f"draft {refused[-1]} was not approved in SAP: remove it there if this step shall be replayed",
        )
    return NotFound(SETTLED_S, f"no {trace.kind} and no draft under {trace.mark}")


# ---------------------------------------------------------------------------------------------------------------------
# Answers: orders


@dataclass(frozen=True, slots=True)
class Person:
    """Who a partner is, where that is read."""

    name: str = ""
    email: str = ""


def read_partner(response: Response) -> Person | NoAnswer:
    match response.status, response.json:
        case 200, {"CardName": str() | None as name, "EmailAddress": str() | None as email}:
            return Person(name or "", email or "")
        case 404, body if error_of(body):
            return Person()
        case _:
            return read_trouble(response)


def order_facts(
    order: Document,
    deliveries: Sequence[Document],
    invoices: Sequence[Document],
    company: Company,
    person: Person,
) -> OrderFacts | NoAnswer:
    """The order, with what its deliveries and invoices say about it. Payments are not the order's in SAP."""
    created = time_of(order, "CreationDate", "DocTime", company.zone)
    changed = time_of(order, "UpdateDate", "UpdateTime", company.zone)
    if created is None or (order.is_cancelled and changed is None):
        return Unknown(f"the dates of order {order.num} cannot be read")
    fractions = [line.sku for line in order.lines if line.quantity != line.quantity.to_integral_value()]
    if fractions:
        return Permanent(
            "fractional_quantity",
            f"order {order.num} has parts of units ({', '.join(fractions)}): a person must cancel it in SAP",
        )
    progress = {line.num: progress_of(order, line, deliveries, invoices) for line in order.lines}
    cancels, refusal = how_it_is_taken_back(order, progress, invoices)
    return OrderFacts(
        platform=SPEC.platform,
        order_id=str(order.entry),
        number=order.text(company.order_field) or str(order.num),
        created_at=created,
        currency=order.total.currency,
        total=order.total,
        email=person.email,
        lines=tuple(order_line(order, line, progress[line.num]) for line in order.lines),
        payments=(),
        cancelled_at=changed if order.is_cancelled else None,
        customer_name=person.name,
        cancels=cancels,
        cancels_lines=TakesBack.PERSON,
        cancel_refusal=refusal,
        is_restock_carried=True,
        records_refunds=False,
        releases_authorisations=False,
        knows_payments=False,
    )


def time_of(document: Document, day_field: str, time_field: str, zone: tzinfo) -> datetime | None:
    """A date and, where it can be read, a time of the server; aware, in UTC."""
    try:
        day = date.fromisoformat(document.text(day_field)[:10])
    except ValueError:
        return None
    clock = re.match(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", document.text(time_field))
    hours, minutes, seconds = (int(part or 0) for part in clock.groups()) if clock else (0, 0, 0)
    local = datetime(day.year, day.month, day.day, hours, minutes, seconds, tzinfo=zone)
    return local.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of an order line, in units. `removed`: closed without a document; `delivered`; `invoiced`; `returned`:
    brought back or credited; `unexplained`: drawn to documents that were not found under the order's number.
    """

    removed: int
    delivered: int
    invoiced: int
    returned: int
    unexplained: int


def progress_of(
    order: Document, line: Line, deliveries: Sequence[Document], invoices: Sequence[Document]
) -> Progress:
    own = (_ORDER_BASE, order.entry, line.num)
    delivered = list(_drawn_from(deliveries, {own}))
    places = {(_DELIVERY_BASE, document.entry, each.num) for document, each in delivered}
    direct = list(_drawn_from(invoices, {own}))
    later = list(_drawn_from(invoices, places))
    shipped = _units(each.quantity for _, each in delivered)
    used = _units(each.quantity - each.left for _, each in delivered)
    from_deliveries = _units(each.quantity for _, each in later)
    credited = _units(each.quantity - each.left for _, each in (*direct, *later))
    invoiced = _units(each.quantity for _, each in direct)
    is_closed = not line.is_open or not order.is_open
    return Progress(
        removed=_units([line.left]) if is_closed else 0,
        delivered=shipped,
        invoiced=invoiced + from_deliveries,
        returned=max(0, used - from_deliveries) + credited,
        unexplained=max(0, _units([line.quantity - line.left]) - shipped - invoiced),
    )


def _drawn_from(
    documents: Iterable[Document], bases: set[tuple[int, int, int]]
) -> Iterator[tuple[Document, Line]]:
    for document in documents:
        for line in document.lines:
            if line.base in bases:
                yield document, line


def _units(quantities: Iterable[Decimal]) -> int:
    return int(sum(quantities, Decimal(0)).to_integral_value(ROUND_HALF_UP))


def order_line(order: Document, line: Line, progress: Progress) -> OrderLine:
    """An invoice without a delivery is no shipment: its credit memo takes the units back."""
    quantity = int(line.quantity) - progress.removed
    shipped = progress.delivered + progress.unexplained
    unit = worth_of(order, line, line.quantity).minor // int(line.quantity) if line.quantity else 0
    return OrderLine(
        line_id=str(line.num),
        sku=line.sku,
        title=line.title,
        quantity=quantity,
        unfulfilled=max(0, quantity - shipped),
        refundable=max(0, quantity - progress.returned),
        unit=Money(unit, order.total.currency),
    )


def how_it_is_taken_back(
    order: Document, progress: Mapping[int, Progress], invoices: Sequence[Document]
) -> tuple[TakesBack, str]:
    """How the whole order is taken back as it stands, and why SAP would refuse it."""
    if order.is_cancelled:
        return TakesBack.CALL, ""
    if not order.is_drawn:
        if order.is_open:
            return TakesBack.CALL, ""
        return (
            TakesBack.PERSON,
            "it was closed in SAP with nothing delivered, and a closed order cannot be cancelled",
        )
    lines = [(line, progress[line.num]) for line in order.lines]
    if any(each.is_reserve for each in invoices):
        return TakesBack.PERSON, "a reserve invoice stands on it: reverse it in SAP by hand"
    if any(each.unexplained for _, each in lines):
        return (
            TakesBack.PERSON,
            "some of it went into documents that do not carry the order's number: look at its relationship map in SAP",
        )
    if any(each.invoiced for _, each in lines):
        if len(invoices) == 1 and all(each.invoiced == int(line.quantity) for line, each in lines):
            return TakesBack.REFUND, ""
        return (
            TakesBack.PERSON,
            "it is invoiced in part: close the open rest of the order in SAP, and credit what was invoiced",
        )
    if any(line.left for line, _ in lines if line.is_open):
        return (
            TakesBack.PERSON,
            "it is delivered in part: close the open rest of the order in SAP, and take back what was delivered by a return",
        )
    return TakesBack.PERSON, "it is delivered: what comes back is booked by a return in SAP"


def cancel_refusal(order: Document) -> Permanent | None:
    """Why a cancel need not be tried."""
    if order.is_drawn:
        return Permanent(
            "drawn",
            f"units of order {order.num} were delivered or invoiced: in SAP close what is still open of it, and take the rest back by a "
            "return (delivered) or a credit memo (invoiced); then resolve this step",
        )
    if not order.is_open:
        return Permanent(
            "closed",
            f"order {order.num} was closed in SAP, so nothing of it will be delivered, and it cannot be cancelled: resolve this step if "
            "that will do",
        )
    return None


def quote_line(document: Document, wanted: LineQuantity) -> Money | Permanent:
    line = next((each for each in document.lines if str(each.num) == wanted.line_id), None)
    if line is None or not 0 <= wanted.quantity <= line.quantity:
        return Permanent(
            "unknown_line",
            f"order {document.num} has no {wanted.quantity} units on line {wanted.line_id!r:.20}",
        )
    return worth_of(document, line, Decimal(wanted.quantity))


def quote_order(document: Document, lines: Iterable[LineQuantity]) -> Money | Permanent:
    """What these units come to, never more than the whole order."""
    sum_of = Money(0, document.total.currency)
    for wanted in lines:
        worth = quote_line(document, wanted)
        if isinstance(worth, Permanent):
            return worth
        sum_of += worth
    return min(sum_of, document.total)


# ---------------------------------------------------------------------------------------------------------------------
# Answers: returns


@dataclass(frozen=True, slots=True)
class ReturnRow:
    """So many units of a delivery's line."""

    card: str
    entry: int
    line: int
    units: int


def return_trace(command: Restock, company: Company) -> Trace | Permanent:
    return _trace_of(RETURNS, "oReturns", command.step_key, command.order_number, company)


def carrier_trace(command: Restock, company: Company) -> Trace | Permanent:
    """The credit memo of the step that carries the restock."""
    return _trace_of(CREDIT_NOTES, "oCreditNotes", command.carried_by, command.order_number, company)


def memo_trace(command: CreditNote, company: Company) -> Trace:
    if company.reference:
        where = where_text(company.reference, command.step_key)
        return Trace(CREDIT_NOTES, "oCreditNotes", where, company.reference, command.step_key)
    where = where_text("NumAtCard", command.invoice.number)
    return Trace(CREDIT_NOTES, "oCreditNotes", where, "Comments", command.step_key)


def payment_trace(command: RecordRefund, company: Company) -> Trace:
    field = company.reference or "TransferReference"
    mark = command.step_key if company.reference else short_reference(command.step_key)
    return Trace(PAYMENTS, "", where_text(field, mark), field, mark)


def _trace_of(kind: str, object_code: str, mark: str, number: str, company: Company) -> Trace | Permanent:
    if company.reference:
        return Trace(kind, object_code, where_text(company.reference, mark), company.reference, mark)
    where = where_number("NumAtCard", number)
    if not where:
        return Permanent(
            "unknown_reference", f"without the order's number or a user field no {kind} can be found again"
        )
    return Trace(kind, object_code, where, "Comments", mark)


def not_by_call(command: Restock) -> Permanent:
    return Permanent(
        "not_by_call",
        f"SAP frees stock by cancelling the order {command.order_number} that holds it, and no cancel of ours did: name sap-business-one "
        "in [routing] mirrors, so that its order is cancelled; what had left without an order, book in by a goods receipt in SAP, and "
        "resolve this step",
    )


def return_rows(deliveries: Iterable[Document], command: Restock) -> tuple[ReturnRow, ...] | Permanent:
    """Where the units that came back are taken from: what is still open on deliveries of the order, in the order in which they
    were made.
    """
    live = sorted((d for d in deliveries if d.is_live), key=lambda document: document.entry)
    if len({document.card for document in live}) > 1:
        return Permanent("ambiguous", f"deliveries under {command.order_number} went to several partners")
    rows: list[ReturnRow] = []
    for sku, units in units_of(command.items).items():
        missing = units
        for document, line in _lines_of(live, command.order_id):
            taken = min(missing, int(line.left)) if line.sku == sku and line.is_open else 0
            if taken > 0:
                rows.append(ReturnRow(document.card, document.entry, line.num, taken))
                missing -= taken
        if missing:
            return Permanent(
                "not_returnable",
                f"{missing} of {units} x {sku} stand open on no delivery of order {command.order_number}: what was invoiced comes back by "
                "a credit memo, what came back before is booked already. Look in SAP, book the rest by hand and resolve this step",
            )
    return tuple(rows) or Permanent("nothing_to_return", "no units were named")


def _lines_of(deliveries: Iterable[Document], order_id: str) -> Iterator[tuple[Document, Line]]:
    """The lines that may come back; of the order alone where its id is known."""
    for document in deliveries:
        for line in document.lines:
            is_other = line.base is not None and line.base[0] == _ORDER_BASE and str(line.base[1]) != order_id
            if not (order_id and is_other):
                yield document, line


def units_of(items: Iterable[ItemQuantity]) -> dict[str, int]:
    """Units by article, summed."""
    units: dict[str, int] = {}
    for item in items:
        units[item.sku] = units.get(item.sku, 0) + item.quantity
    return units


def moved_by(document: Document) -> dict[str, int]:
    """Units by article that a document puts back on the shelf."""
    units: dict[str, Decimal] = {}
    for line in document.lines:
        if not line.is_without_stock:
            units[line.sku] = units.get(line.sku, Decimal(0)) + line.quantity
    return {sku: int(quantity) for sku, quantity in units.items()}


def judge_return(document: Document | None, command: Restock) -> Outcome:
    """Whether a return takes back what was asked for."""
    if document is None:
        return Unknown("the return cannot be read")
    wanted, moved = units_of(command.items), moved_by(document)
    if moved != wanted:
        return Permanent(
            "units_mismatch", f"asked to take back {wanted}, return {document.num} takes back {moved}"
        )
    return Done(str(document.entry), f"return {document.num}")


def judge_carrier(memo: Document, command: Restock) -> Outcome:
    """Whether a credit memo put back at least what was asked for."""
    wanted, moved = units_of(command.items), moved_by(memo)
    short = {sku: units for sku, units in wanted.items() if moved.get(sku, 0) < units}
    if short or not moved:
        return Permanent(
            "not_restocked",
            f"credit memo {memo.num} puts back {moved or 'nothing'}, and not {short or 'anything'}: look whether the goods are "
            "there, and book them in by hand",
        )
    return Done(str(memo.entry), f"credit memo {memo.num} puts back {moved}")


# ---------------------------------------------------------------------------------------------------------------------
# Answers: books


def invoice_facts(invoice: Document, memos: Iterable[Document]) -> InvoiceFacts:
    """The invoice, and what was credited on it: by memos based on it, or by such under its number that have no base at all.
    `PaidToDate` is what payments and memos settled together.
    """
    currency = invoice.total.currency
    credited = sum(
        memo.total.minor
        for memo in memos
        if memo.is_live and memo.total.currency == currency and _credits(memo, invoice)
    )
    due = Money(0, currency) if invoice.is_cancelled else invoice.due
    state = InvoiceState.PAID if due.minor <= 0 else InvoiceState.OPEN
    return InvoiceFacts(
        platform=SPEC.platform,
        invoice_id=str(invoice.entry),
        number=invoice.number or str(invoice.num),
        state=InvoiceState.VOIDED if invoice.is_cancelled else state,
        contact_id=invoice.card,
        total=invoice.total,
        due=due,
        paid=Money(max(0, invoice.total.minor - due.minor - credited), currency),
        credited=Money(credited, currency),
        lines=tuple(
            InvoiceLine(
                description=line.title,
                gross=worth_of(invoice, line, line.quantity),
                account_code=line.account,
                tax_type=line.tax_code or line.vat_group,
                line_id=str(line.num),
                sku=line.sku,
                quantity=int(line.quantity),
            )
            for line in invoice.lines
        ),
        document="ReserveInvoice" if invoice.is_reserve else "Invoice",
        refunded_by=RefundedBy.NOTE,
        is_allocated=False,
    )


def _credits(memo: Document, invoice: Document) -> bool:
    bases = {line.base[:2] for line in memo.lines if line.base is not None}
    return (_INVOICE_BASE, invoice.entry) in bases or not bases


def void_refusal(invoice: Document) -> Permanent | None:
    if invoice.is_reserve:
        return reserve_refusal(invoice)
    if invoice.paid.minor:
        return Permanent(
            "has_payments",
            f"{invoice.paid} of invoice {invoice.num} are settled, so it cannot be cancelled: plan the case again, so that a credit memo is "
            "written",
        )
    return None


def reserve_refusal(invoice: Document) -> Permanent:
    return Permanent(
        "reserve_invoice",
        f"invoice {invoice.num} is a reserve invoice, whose goods are delivered from it: reverse it in SAP by hand, then resolve this step",
    )


@dataclass(frozen=True, slots=True)
class MemoRow:
    """So many units of an invoice's line on a credit memo. `restock`: they come back to stock with it."""

    line: Line
    units: Decimal
    restock: bool


def memo_rows(invoice: Document, command: CreditNote) -> tuple[MemoRow, ...] | Permanent:
    """The rows of a memo over exactly `command.amount`, or why a person must write it."""
    if not invoice.is_live:
        return Permanent("voided", f"invoice {invoice.num} is cancelled: there is nothing to credit")
    if invoice.is_reserve:
        return reserve_refusal(invoice)
    if command.amount.currency != invoice.total.currency:
        return Permanent(
            "currency_mismatch",
            f"invoice {invoice.num} is in {invoice.total.currency}, not {command.amount.currency}",
        )
    chosen = choose_units(invoice, command)
    if chosen is None:
        return Permanent(
            "amount_not_in_lines",
            f"{command.amount} are neither all that is left on the lines of invoice {invoice.num} ({invoice.total}) nor the worth of "
            f"{units_of(command.items) or 'the units, which are not known'} on it, and anything else would be a guess at the tax. In SAP, "
            f"write a credit memo over {command.amount} by hand, with {command.step_key} in the user field or as a word of the remarks; "
            "then replay this step, which will find it",
        )
    if command.restock and not command.items:
        return Permanent("items_unknown", "units are to come back to stock, and which is not known")
    return tuple(_with_stock(chosen, units_of(command.items) if command.restock else {}))


def choose_units(invoice: Document, command: CreditNote) -> list[tuple[Line, Decimal]] | None:
    """All that is left on the invoice, or the units of the command, whichever is worth the amount."""
    rest = [(line, line.left) for line in invoice.lines if line.left > 0]
    named: list[tuple[Line, Decimal]] = []
    for sku, units in units_of(command.items).items():
        missing = Decimal(units)
        for line, left in rest:
            taken = min(missing, left) if line.sku == sku else Decimal(0)
            if taken > 0:
                named.append((line, taken))
                missing -= taken
        if missing:
            named = []
            break
    for chosen in (rest, named):
        worth = sum(worth_of(invoice, line, units).minor for line, units in chosen)
        if chosen and worth == command.amount.minor:
            return chosen
    return None


def _with_stock(chosen: Iterable[tuple[Line, Decimal]], back: dict[str, int]) -> Iterator[MemoRow]:
    """A line of which only some units come back to stock becomes two rows."""
    for line, units in chosen:
        some = min(units, Decimal(back.get(line.sku, 0)))
        if some > 0:
            back[line.sku] -= int(some)
            yield MemoRow(line, some, restock=True)
        if units > some:
            yield MemoRow(line, units - some, restock=False)


def may_go_without_base(invoice: Document, refused: Refusal) -> bool:
    """Whether the invoice being settled may be why it was refused as a base. Where a draft may have been made, never."""
    return refused.code != NO_RECORD and (not invoice.is_open or invoice.due.minor <= 0)


def judge_memo(memo: Document | None, command: CreditNote) -> Outcome:
    if memo is None:
        return Unknown("the credit memo cannot be read")
    if memo.total != command.amount:
        return Permanent(
            "amount_mismatch",
            f"asked for {command.amount}, credit memo {memo.num} ({memo.entry}) is over {memo.total}: put it right in SAP",
        )
    return Done(str(memo.entry), f"credit memo {memo.num}")


def payment_refusal(memo: Document, command: RecordRefund) -> Permanent | None:
    """Why the outgoing payment cannot be posted."""
    by_hand = f"book {command.amount} ({command.refund_reference}) as an outgoing payment by hand, then resolve this step"
    if not command.account_code:
        return Permanent(
            "no_account", "no account was named that the refund is paid from (refund_account_code)"
        )
    if not memo.is_live:
        return Permanent("voided", f"credit memo {memo.num} is cancelled: {by_hand}")
    if command.amount.currency != memo.total.currency:
        return Permanent("currency_mismatch", f"credit memo {memo.num} is over {memo.total}: {by_hand}")
    if memo.is_foreign:
        return Permanent(
            "foreign_currency",
            f"credit memo {memo.num} is not in the company's own currency, and its rate is for a person to say: {by_hand}",
        )
    if memo.due < command.amount:
        return Permanent(
            "nothing_left",
            f"{memo.due} of credit memo {memo.num} are left to be paid out: it settled what was due on the invoice, so the customer's "
            f"payment is probably not booked. Book it, then {by_hand}",
        )
    return None


def judge_payment(payment: Mapping[str, Any], command: RecordRefund, company: Company) -> Outcome:
    """Whether an outgoing payment says what was asked, and is paid on the credit memo."""
    match payment:
        case {
            "DocEntry": int(entry),
            "TransferSum": sum_of,
            "DocCurrency": str(currency),
            "PaymentInvoices": list(rows),
        }:
            amount = money_of(sum_of, company.iso(currency))
        case _:
            return Unknown("the payment cannot be read")
    if amount is None:
        return Unknown("the payment's amount cannot be read")
    if amount != command.amount:
        return Permanent("amount_mismatch", f"asked for {command.amount}, payment {entry} is over {amount}")
    for row in rows:
        match row:
            case {"DocEntry": int(memo), "InvoiceType": "it_CredItnote", "SumApplied": applied}:
                is_whole = money_of(applied, amount.currency) == amount
                if str(memo) == command.credit_note_id and is_whole:
                    return Done(str(entry), f"payment {payment.get('DocNum', entry)}")
            case _:
                continue
    return Permanent(
        "wrong_note",
        f"payment {entry} is not wholly applied to credit memo {command.credit_note_id}: put it right in SAP",
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers: health and polling


def read_health(response: Response, company: Company) -> Health:
    match response.status, response.json:
        case 200, {"value": list()}:
            field = f", documents have {company.reference}" if company.reference else ""
            return Health(True, f"the session is accepted{field}")
        case 400, body if refusal := error_of(body):
            field = f"; is {company.reference} set up on documents and payments?" if company.reference else ""
            return Health(False, f"{refusal.reason}{field}")
        case _:
            return Health(False, read_trouble(response).reason)


TOPIC: Final = "orders/cancelled"
_CURSOR: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\+(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a look begins. `day`: of the last change; `skip`: how many orders of this look are behind us."""

    day: date
    skip: int = 0


def read_cursor(cursor: str, today: date) -> Place:
    """Where the next look begins: a day back at first, and where the cursor is not ours."""
    found = _CURSOR.fullmatch(cursor)
    try:
        day = date.fromisoformat(found[1]) if found else today - timedelta(days=1)
    except ValueError:
        day = today - timedelta(days=1)
    return Place(day, int(found[2] or 0) if found else 0)


def poll_request(at: Place, company: Company) -> Request:
    """By DocEntry: an order that is cancelled while pages are turned moves others to later pages, never to earlier ones."""
    select = dict.fromkeys(("DocEntry", company.order_field, "UpdateDate", "UpdateTime"))
    options = {
        "$select": ",".join(select),
        "$filter": f"Cancelled eq 'tYES' and UpdateDate ge {literal(at.day.isoformat())}",
        "$orderby": "DocEntry",
        **({"$skip": str(at.skip)} if at.skip else {}),
    }
    return Request(
        "GET",
        f"/{ORDERS}?{query_of(options)}",
        "sap-business-one.poll",
        headers={"Prefer": f"odata.maxpagesize={_PAGE}"},
    )


def read_polled(page: Page, at: Place, today: date, company: Company) -> Polled | Unknown:
    events = []
    for row in page.rows:
        match row:
            case {"DocEntry": int(entry)} if entry > 0:
                body = {"DocEntry": entry, "number": text_of(row.get(company.order_field))}
                events.append(PolledEvent(f"cancelled:{entry}", TOPIC, json.dumps(body).encode()))
            case _:
                return Unknown("a cancelled order in the list cannot be read")
    if page.next_query and events:
        return Polled(tuple(events), f"{at.day.isoformat()}+{at.skip + len(events)}", has_more=True)
    # A day back, because that is when an order of the seam may have been changed by the server's clock.
    return Polled(tuple(events), max(at.day, today - timedelta(days=1)).isoformat())


@dataclass(frozen=True, slots=True)
class SapInbound:
    """Reads what polling found. Deliveries from outside are refused: how SAP signs its webhooks is not published."""

    platform: ClassVar[str] = SPEC.platform

    def verify(self, delivery: Delivery, now: datetime) -> Refused:
        return Refused("SAP Business One sends nothing here that could be verified; its orders are polled")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where a polled order lacks its id."""
        if topic != TOPIC:
            return Irrelevant(f"nothing is done on {topic}")
        match parse_json(body):
            case {"DocEntry": int(entry), "number": str(number)} if entry > 0:
                return OrderCancelledElsewhere(OrderRef(SPEC.platform, str(entry), number))
            case {"DocEntry": int(entry)} if entry > 0:
                raise MalformedError("number", "is no text")
            case _:
                raise MalformedError("DocEntry", "is no number")
