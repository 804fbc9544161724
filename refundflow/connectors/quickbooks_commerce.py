"""QuickBooks Online: the books. Writes a refund receipt or a credit memo, or voids the sale that never was; moves no money.

The name is history: the order system "QuickBooks Commerce" (once TradeGecko) was shut down and its hosts are gone. What is
left to tell is the ledger: Accounting API v3, minor version 75 (https://developer.intuit.com, read 2026-11-25). Authorised by
OAuth 2 for one company (`realmId`): a person connects once, after that the refresh token is replaced with every use.

QuickBooks has no order that could be cancelled. What a cancelled order asks for depends on how the shop books its sales, and
is read from what is there: an Invoice or a SalesReceipt under the number. A sale that was paid is given back by one
RefundReceipt per refund; what is still due of an invoice is forgiven by a CreditMemo; what was never charged is voided.

Quirks
- A refusal is a `Fault`, mostly with status 400, sometimes with 200: the key is looked for before anything else.
- Nothing ties a refund receipt or credit memo to a sale: any amount is booked, as often as it is sent. `requestid` is honoured
  for a time that nobody promises, so it is sent and not relied on: the document's number is looked for before every write.
- Where the company numbers its documents itself, our number is replaced without a word. Our reference therefore stands in
  `PrivateNote` too, which cannot be searched: a look goes through the customer's documents since the case was opened.
- `DepositToAccountRef` is where the money *left*. Amounts are positive, JSON numbers in major units.
- Without `CurrencyRef` a document is in the company's home currency, whatever was meant: it is always sent, and compared.
- Automated sales tax may add tax of its own; the total that comes back is compared with the refund.
- Lines of inventory items move stock. Ours name one item from the settings, which has to be a service or non-inventory item.
- A credit memo goes to the customer's oldest open invoice by itself, where the company is set so; whichever it was meant for.
- Invoices are voided by `operation=void`, sales receipts by a sparse update with `include=void`; the other form does nothing.
  A void keeps the number, sets all amounts to 0 and writes "Voided" into the note, over our reference or anybody's.
- The server works up to 120 seconds on a call, much longer than we wait for it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import CreditNote, RecordRefund, VoidInvoice
from refundflow.domain.facts import InvoiceFacts, InvoiceLine, InvoiceState, RefundedBy
from refundflow.domain.ids import StepKey, opened_at
from refundflow.domain.inbound import Delivery, Irrelevant, MalformedError, Refused, Verified
from refundflow.domain.money import Money
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
from refundflow.transport.signatures import is_any, sign_base64, split_secrets

_DOC: Final = "https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities"

SPEC: Final = Spec(
    platform="quickbooks-commerce",
    api_version="v3, minor version 75",
    base_url="https://quickbooks.api.intuit.com",
    operations={
        Capability.READ_INVOICE: Operation("GET /query", Idempotency.READ, f"{_DOC}/invoice"),
        Capability.VOID_INVOICE: Operation(
            "POST /invoice?operation=void, POST /salesreceipt?operation=update&include=void",
            Idempotency.NATURAL,
            f"{_DOC}/salesreceipt",
        ),
        # A request id is honoured for a while that is not documented: no lifetime is declared, a look comes first.
        Capability.CREDIT_NOTE: Operation("POST /creditmemo", Idempotency.LOOKUP, f"{_DOC}/creditmemo"),
        Capability.RECORD_REFUND: Operation(
            "POST /refundreceipt", Idempotency.LOOKUP, f"{_DOC}/refundreceipt"
        ),
        Capability.CHECK: Operation(
            "GET /preferences, GET /item/{id}", Idempotency.READ, f"{_DOC}/preferences"
        ),
        Capability.INBOUND: Operation(
            "intuit-signature",
            Idempotency.READ,
            "https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks",
        ),
    },
    # 500 calls a minute and 10 a second for one company: 4 at once and 5 after stay below both.
    rate_per_s=5,
    burst=4,
    # Documents carry the customer's addresses; whoever paid by card or cheque has that on them as well.
    redact=frozenset(
        {
            "billaddr",
            "billemail",
            "billemailbcc",
            "billemailcc",
            "checkpayment",
            "companyname",
            "creditcardpayment",
            "customermemo",
            "displayname",
            "freeformaddress",
            "primaryemailaddr",
            "primaryphone",
            "shipaddr",
            "shipfromaddr",
        }
    ),
    # Three calls that all run into it end within a step's lease.
    read_s=20.0,
)

_MINOR_VERSION: Final = "75"

#: How long after the send an absence is believed: a call whose answer was lost may run for 120 seconds at the vendor.
SETTLED_S: Final = 180.0

#: The vendor's own wish after a 429, which comes without a header.
_THROTTLED_S: Final = 60.0

_NUMBER_CHARS: Final = 21
_NOTE_CHARS: Final = 4000
_REQUEST_ID_CHARS: Final = 50
#: As many characters of the payer's reference as `PaymentRefNum` takes.
_PAYMENT_NUMBER_CHARS: Final = 21

#: More units than any order has: an exponent of a billion would be worked out to all its digits.
_UNIT_DIGITS: Final = 9

_PAGE: Final = 500
_MOST_PAGES: Final = 3


@dataclass(frozen=True, slots=True)
class Credentials:
    """The app's client, and one company's connection to it.

    `refresh_token`: as the person who connected got it; replaced with every use, the newest is kept by us. `realm_id`: the
    company's id, digits. `item_id`: the item on the lines of our documents, a service or non-inventory one ("Returns").
    `tax_code`: on these lines, as the company calls it; one that puts no tax on top, because the amount holds all that went
    back (US companies: `NON`; empty: none is sent). `payment_method_id`: on refund receipts, may be empty. `home_currency`:
    ISO 4217; needed only where documents do not name their currency. `webhook_secret`: the app's verifier token, several
    with commas between them while it is being changed; empty: no webhooks.

    Raises ValueError for ids that could not be put into an address.
    """

    client_id: str
    client_secret: Secret
    refresh_token: Secret
    realm_id: str
    item_id: str
    tax_code: str = "NON"
    payment_method_id: str = ""
    home_currency: str = ""
    webhook_secret: Secret = Secret()  # noqa: RUF009 (a Secret is frozen, so one empty default may be shared)
    base_url: str = SPEC.base_url
    token_url: str = "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer"  # noqa: S105 (an address)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9]{1,25}", self.realm_id):
            raise ValueError(f"realm_id is the company's id in digits, not {self.realm_id!r}")
        if not re.fullmatch(r"\w{1,50}", self.item_id, re.ASCII):
            raise ValueError(f"item_id is an item's id, not {self.item_id!r}")
        if not re.fullmatch(r"([A-Z]{3})?", self.home_currency):
            raise ValueError(f"home_currency is an ISO 4217 code in capitals, not {self.home_currency!r}")


def today_utc() -> date:
    """Today in UTC: at most one day away from the company's own date."""
    return datetime.now(UTC).date()


def build(credentials: Credentials, wire: Wire, today: Callable[[], date] = today_utc) -> QuickBooksCommerce:
    """The connector on a wire. `today`: the date that documents are booked on."""
    door = wire.http(
        platform=SPEC.platform,
        base_url=credentials.token_url,
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
        base_url=credentials.base_url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        headers={"Accept": "application/json"},
        tokens=tokens,
        redact=SPEC.redact,
    )
    company = Company(
        credentials.realm_id,
        credentials.item_id,
        credentials.tax_code,
        credentials.payment_method_id,
        credentials.home_currency,
    )
    return QuickBooksCommerce(http, company, today)


@dataclass(frozen=True, slots=True)
class Company:
    """One company's books and how the shop wants them written; the fields are explained in `Credentials`."""

    realm_id: str
    item_id: str
    tax_code: str = "NON"
    payment_method_id: str = ""
    home_currency: str = ""


class Kind(StrEnum):
    """Documents, as the vendor calls them."""

    INVOICE = "Invoice"
    SALES_RECEIPT = "SalesReceipt"
    REFUND_RECEIPT = "RefundReceipt"
    CREDIT_MEMO = "CreditMemo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """A document that we add. `number`: what its number shall be; `note`: begins with our reference; `account_id`: the
    account that the money left (refund receipts); `payment_number`: the payer's reference, where it is short enough.
    """

    kind: Kind
    step_key: StepKey
    key: str
    number: str
    amount: Money
    customer_id: str
    invoice_id: str
    note: str
    description: str
    account_id: str = ""
    payment_number: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal. `code`: the first error's; `kind`: the vendor's word for what kind of refusal it is."""

    code: str
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class QuickBooksCommerce:
    """The books of one company. `today`: the date to book on."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    company: Company
    today: Callable[[], date] = today_utc

    def check(self) -> Health:
        """Two reads: what the company has set, and whether our lines' item would move stock."""
        preferences = self.http.send(preferences_request(self.company))
        told = read_preferences(preferences, self.company)
        if not told.is_ok:
            return told
        return read_item(self.http.send(item_request(self.company)), self.company, told.detail)

    def read_invoice(self, number: str) -> InvoiceFacts | NotFound | NoAnswer:
        """The sale with this number, an Invoice or a SalesReceipt: two calls."""
        found: list[tuple[Kind, Mapping[str, Any]]] = []
        for kind in (Kind.INVOICE, Kind.SALES_RECEIPT):
            request = numbered_request(self.company, kind, number, "read_invoice")
            rows = read_rows(self.http.send(request), kind)
            if not isinstance(rows, list):
                return rows
            found += [(kind, row) for row in rows if row.get("DocNumber") == number]
        return pick_sale(found, number, self.company.home_currency)

    def void_invoice(self, command: VoidInvoice) -> Outcome:
        """Two calls: the sale is read first, because its lock token and whether it may be voided are of this moment."""
        kind = kind_to_void(command)
        if not isinstance(kind, Kind):
            return kind
        now = self.http.send(sale_request(self.company, command, kind, "void_invoice"))
        match read_void_target(now, command, kind):
            case str() as sync_token:
                request = void_request(self.company, command, kind, sync_token)
                outcome = read_void(self.http.send(request), command, kind)
            case ended:
                return ended
        match outcome:
            case Permanent(code="6000"):
                # "Void already" has no code of its own.
                match self.find_void_invoice(command):
                    case Done(reference=reference, detail=detail):
                        return AlreadyDone(reference, detail)
                    case Unknown(reason=reason):
                        return Unknown(f"{outcome.reason}; and whether it is void already: {reason}")
        return outcome

    def find_void_invoice(self, command: VoidInvoice) -> Found:
        kind = kind_to_void(command)
        if not isinstance(kind, Kind):
            return kind
        response = self.http.send(sale_request(self.company, command, kind, "find_void_invoice"))
        return read_void_found(response, command, kind)

    def credit_note(self, command: CreditNote) -> Outcome:
        """Two calls: a look for the number, then the credit memo."""
        booking = booking_of_note(command)
        return self._book(booking, "credit_note") if isinstance(booking, Booking) else booking

    def find_credit_note(self, command: CreditNote) -> Found:
        booking = booking_of_note(command)
        return self._find(booking, "find_credit_note") if isinstance(booking, Booking) else booking

    def record_refund(self, command: RecordRefund) -> Outcome:
        """Two calls: a look for the number, then the refund receipt."""
        booking = booking_of_refund(command)
        return self._book(booking, "record_refund") if isinstance(booking, Booking) else booking

    def find_record_refund(self, command: RecordRefund) -> Found:
        booking = booking_of_refund(command)
        return self._find(booking, "find_record_refund") if isinstance(booking, Booking) else booking

    def _book(self, booking: Booking, operation: str) -> Outcome:
        """Looks for the number before it writes: the vendor may have forgotten the request id of an earlier try."""
        home = self.company.home_currency
        request = numbered_request(self.company, booking.kind, booking.number, operation)
        rows = read_rows(self.http.send(request), booking.kind)
        if not isinstance(rows, list):
            return rows  # nothing was written
        match settle_rows(rows, booking, home):
            case NotFound():
                request = booking_request(self.company, booking, operation, self.today())
                return read_booked(self.http.send(request), booking, home)
            case Done(reference=reference, detail=detail):
                return AlreadyDone(reference, detail)
            case ended:
                return ended

    def _find(self, booking: Booking, operation: str) -> Found:
        """By number (one call), and where the company gives its own numbers by our reference in the note: one more call
        per 500 documents of the customer since the case was opened.
        """
        home = self.company.home_currency
        request = numbered_request(self.company, booking.kind, booking.number, operation)
        rows = read_rows(self.http.send(request), booking.kind)
        if not isinstance(rows, list):
            return unseen(rows)
        found = settle_rows(rows, booking, home)
        if not isinstance(found, NotFound):
            return found
        listed: list[Mapping[str, Any]] = []
        for page in range(_MOST_PAGES):
            request = listed_request(self.company, booking, operation, 1 + page * _PAGE)
            rows = read_rows(self.http.send(request), booking.kind)
            if not isinstance(rows, list):
                return unseen(rows)
            listed += rows
            if len(rows) < _PAGE:
                return settle_rows(listed, booking, home)
        return Unknown(f"more than {len(listed)} documents to look through for {booking.step_key}")


# ------------------------------------------------------------------------------------------------------------
# Requests


def token_request(credentials: Credentials, refresh_token: str) -> Request:
    return Request(
        "POST",
        credentials.token_url,
        "quickbooks_commerce.token",
        headers={"Accept": "application/json"},
        form=(("grant_type", "refresh_token"), ("refresh_token", refresh_token)),
        auth=(credentials.client_id, credentials.client_secret.reveal()),
    )


def preferences_request(company: Company) -> Request:
    return _get(company, "preferences", "check")


def item_request(company: Company) -> Request:
    return _get(company, f"item/{company.item_id}", "check")


def numbered_request(company: Company, kind: Kind, number: str, operation: str) -> Request:
    """All documents of a kind with this number; QuickBooks need not keep numbers apart."""
    text = f"select * from {kind} where DocNumber = {quoted(number)}"  # noqa: S608 (quoted, and no SQL)
    return _query(company, text, operation)


def listed_request(company: Company, booking: Booking, operation: str, start: int) -> Request:
    """The customer's documents of that kind since the case was opened, a page of them. `start` counts from 1.

    Two days are added in front: the company's date is not ours, and the clocks of two machines are not one.
    """
    where = []
    if booking.customer_id:
        where.append(f"CustomerRef = {quoted(booking.customer_id)}")
    opened_s = opened_at(booking.step_key)
    if opened_s:
        since = datetime.fromtimestamp(opened_s, UTC).date() - timedelta(days=2)
        where.append(f"TxnDate >= {quoted(since.isoformat())}")
    condition = f" where {' and '.join(where)}" if where else ""
    text = f"select * from {booking.kind}{condition} startposition {start} maxresults {_PAGE}"  # noqa: S608 (as above)
    return _query(company, text, operation)


def quoted(value: str) -> str:
    """A value in the query language: in single quotes, those inside escaped with a backslash."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def booking_of_refund(command: RecordRefund) -> Booking | Permanent:
    """The refund receipt, or why there can be none."""
    invoice = command.invoice
    if invoice is None:
        return Permanent(
            "no_sale", "a refund receipt needs the sale that it is for, and the command names none"
        )
    wrong = _wrong_amount(command.amount, invoice)
    if wrong is not None:
        return wrong
    reference = command.refund_reference
    return Booking(
        kind=Kind.REFUND_RECEIPT,
        step_key=command.step_key,
        key=command.key,
        number=document_number(command.number, command.step_key),
        amount=command.amount,
        customer_id=invoice.contact_id,
        invoice_id=invoice.invoice_id,
        note=private_note(command, invoice, f"refund {reference}" if reference else ""),
        description=command.memo or f"Refund for {invoice.number}",
        account_id=command.account_code,
        # Half an id is none: a longer one stands in the note only.
        payment_number=reference if len(reference) <= _PAYMENT_NUMBER_CHARS else "",
    )


def booking_of_note(command: CreditNote) -> Booking | Permanent:
    """The credit memo, or why there can be none."""
    invoice = command.invoice
    if invoice.document == Kind.SALES_RECEIPT:
        return Permanent(
            "nothing_due", f"{invoice.number} is a sales receipt: nothing is due on it that could be credited"
        )
    if command.restock:
        return Permanent(
            "restock_unsupported",
            "our credit memos move no stock: name another stock_owner in [routing], or put the units back by hand",
        )
    wrong = _wrong_amount(command.amount, invoice)
    if wrong is not None:
        return wrong
    return Booking(
        kind=Kind.CREDIT_MEMO,
        step_key=command.step_key,
        key=command.key,
        number=document_number(command.number, command.step_key),
        amount=command.amount,
        customer_id=invoice.contact_id,
        invoice_id=invoice.invoice_id,
        note=private_note(command, invoice),
        description=command.memo or f"Credit for {invoice.number}",
    )


def _wrong_amount(amount: Money, invoice: InvoiceFacts) -> Permanent | None:
    if amount.currency != invoice.total.currency:
        return Permanent(
            "currency_mismatch",
            f"{invoice.number} is in {invoice.total.currency}, not {amount.currency}: book {amount} by hand",
        )
    if amount.minor <= 0:
        return Permanent("no_amount", f"{amount} is nothing that could be booked for {invoice.number}")
    return None


def private_note(command: CreditNote | RecordRefund, invoice: InvoiceFacts, refund: str = "") -> str:
    """All references in full, ours first and as a word of its own: it is what a look finds the document by."""
    sale = f"{invoice.document or 'sale'} {invoice.number}"
    words = (command.step_key, command.number, command.memo, refund, sale)
    return " | ".join(filter(None, words))[:_NOTE_CHARS]


def document_number(number: str, step_key: StepKey) -> str:
    """Our number in the 21 characters that QuickBooks has for one; the same for the same step, whenever it is asked.

    `RR-RF-00K3ZQ4M7ABCDEF-1` loses what the case's id has in front (`RR00K3ZQ4M7ABCDEF-1`); anything else that is too
    long, or absent, becomes a digest of the step's key.
    """
    short = re.sub(r"^([A-Z]{2})-RF-", r"\1", number)
    if 0 < len(short) <= _NUMBER_CHARS:
        return short
    digest = base64.b32encode(hashlib.sha256(step_key.encode()).digest()).decode()
    return f"RF{digest}"[:_NUMBER_CHARS]


def request_id(key: str) -> str:
    """The key in the 50 characters that a request id may have."""
    if len(key) <= _REQUEST_ID_CHARS:
        return key
    return hashlib.sha256(key.encode()).hexdigest()[:_REQUEST_ID_CHARS]


def booking_request(company: Company, booking: Booking, operation: str, today: date) -> Request:
    """One line over the whole amount: what went back is known, how its tax was split is not."""
    major = Decimal(booking.amount.major)
    detail: dict[str, Any] = {"ItemRef": _ref(company.item_id), "Qty": 1, "UnitPrice": major}
    if company.tax_code:
        detail["TaxCodeRef"] = _ref(company.tax_code)
    line = {
        "Amount": major,
        "DetailType": "SalesItemLineDetail",
        "Description": booking.description[:_NOTE_CHARS],
        "SalesItemLineDetail": detail,
    }
    body: dict[str, Any] = {
        "DocNumber": booking.number,
        "TxnDate": today.isoformat(),
        "CurrencyRef": _ref(booking.amount.currency),
        "PrivateNote": booking.note,
        "Line": [line],
    }
    if booking.customer_id:
        body["CustomerRef"] = _ref(booking.customer_id)
    if booking.kind is Kind.REFUND_RECEIPT:
        body["DepositToAccountRef"] = _ref(booking.account_id)
        if company.payment_method_id:
            body["PaymentMethodRef"] = _ref(company.payment_method_id)
        if booking.payment_number:
            body["PaymentRefNum"] = booking.payment_number
    return Request(
        "POST",
        f"{_base(company)}/{booking.kind.lower()}",
        f"quickbooks_commerce.{operation}",
        params=(("minorversion", _MINOR_VERSION), ("requestid", request_id(booking.key))),
        json=body,
    )


def kind_to_void(command: VoidInvoice) -> Kind | Permanent:
    """Which document the command names, if it can be put into an address at all."""
    invoice = command.invoice
    if invoice.document not in (Kind.INVOICE, Kind.SALES_RECEIPT) or not re.fullmatch(
        r"[0-9]{1,25}", invoice.invoice_id
    ):
        return Permanent(
            "unknown_document",
            f"{invoice.document!r} {invoice.invoice_id!r} is neither an Invoice nor a SalesReceipt of QuickBooks",
        )
    return Kind(invoice.document)


def sale_request(company: Company, command: VoidInvoice, kind: Kind, operation: str) -> Request:
    return _get(company, f"{kind.lower()}/{command.invoice.invoice_id}", operation)


def void_request(company: Company, command: VoidInvoice, kind: Kind, sync_token: str) -> Request:
    """The form of the void that this kind of document knows.

    The lock token is part of the request id: after somebody else's change the void is another request, and must not be
    answered with the refusal of the first one.
    """
    body: dict[str, Any] = {"Id": command.invoice.invoice_id, "SyncToken": sync_token}
    params = [("minorversion", _MINOR_VERSION), ("requestid", request_id(f"{command.key}:{sync_token}"))]
    if kind is Kind.INVOICE:
        params.append(("operation", "void"))
    else:
        params += [("operation", "update"), ("include", "void")]
        body["sparse"] = True
    return Request(
        "POST",
        f"{_base(company)}/{kind.lower()}",
        "quickbooks_commerce.void_invoice",
        params=tuple(params),
        json=body,
    )


def _base(company: Company) -> str:
    return f"/v3/company/{company.realm_id}"


def _get(company: Company, path: str, operation: str) -> Request:
    return Request(
        "GET",
        f"{_base(company)}/{path}",
        f"quickbooks_commerce.{operation}",
        params=(("minorversion", _MINOR_VERSION),),
    )


def _query(company: Company, text: str, operation: str) -> Request:
    return Request(
        "GET",
        f"{_base(company)}/query",
        f"quickbooks_commerce.{operation}",
        params=(("query", text), ("minorversion", _MINOR_VERSION)),
    )


def _ref(value: str) -> dict[str, str]:
    return {"value": value}


# ------------------------------------------------------------------------------------------------------------
# Answers: the company


def read_preferences(response: Response, company: Company) -> Health:
    """What the company has set that matters to us, in words."""
    match response.status, response.json:
        case 200, {"Preferences": dict(preferences)} if "Fault" not in response.json:
            pass
        case _:
            return Health(False, read_failure(response).reason)
    home = _at(preferences, "CurrencyPrefs", "HomeCurrency", "value")
    if company.home_currency and isinstance(home, str) and home != company.home_currency:
        return Health(
            False,
            f"the company's home currency is {home}, REFUNDFLOW_QUICKBOOKS_COMMERCE_HOME_CURRENCY says "
            f"{company.home_currency}",
        )
    words = [f"home currency {home}"] if isinstance(home, str) else []
    match _at(preferences, "SalesFormsPrefs", "CustomTxnNumbers"):
        case True:
            words.append("custom transaction numbers are on")
        case False:
            words.append(
                "custom transaction numbers are off: our documents are told by their private note alone, switch them on if "
                "you can"
            )
    match _at(preferences, "AccountingInfoPrefs", "BookCloseDate"):
        case str() as closed:
            words.append(f"books are closed up to {closed}")
    return Health(True, ", ".join(words) or "the company's preferences can be read")


def read_item(response: Response, company: Company, told: str) -> Health:
    """Whether the item on our lines can be used: there, active, and none that stock is kept of."""
    match response.status, response.json:
        case 200, {"Item": {"Id": company.item_id} as item} if "Fault" not in response.json:
            pass
        case _:
            return Health(False, f"item {company.item_id}: {read_failure(response).reason}")
    if item.get("Type") == "Inventory" or item.get("TrackQtyOnHand") is True:
        return Health(
            False,
            f"item {company.item_id} is an inventory item: every document of ours would put units on the shelf; take a service "
            "or non-inventory item",
        )
    if item.get("Active") is False:
        return Health(False, f"item {company.item_id} was made inactive: no document can name it")
    return Health(True, told)


def _at(value: object, *names: str) -> object:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


# ------------------------------------------------------------------------------------------------------------
# Answers: sales


def read_rows(response: Response, kind: Kind) -> list[Mapping[str, Any]] | NoAnswer:
    """The documents that a query found; where it found none, their key is absent."""
    match response.status, response.json:
        case 200, {"QueryResponse": dict(found)} if "Fault" not in response.json:
            rows = found.get(kind.value, [])
            if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
                return rows
            return Unknown(f"QuickBooks answered with a list of {kind}s that cannot be read")
        case _:
            return read_failure(response)


def pick_sale(
    found: Sequence[tuple[Kind, Mapping[str, Any]]], number: str, home_currency: str
) -> InvoiceFacts | NotFound | NoAnswer:
    """The one sale with the number. A void one speaks only where there is no other: its number may be used again."""
    live = [(kind, row) for kind, row in found if not is_void(row)]
    match live or found[:1]:
        case []:
            return NotFound(reason=f"neither an Invoice nor a SalesReceipt {number} in QuickBooks")
        case [(kind, row)]:
            return read_sale(kind, row, home_currency)
        case several:
            names = ", ".join(f"{kind} {row.get('Id')}" for kind, row in several)
            return Permanent("ambiguous", f"several sales in QuickBooks have the number {number}: {names}")


def read_sale(
    kind: Kind, document: Mapping[str, Any], home_currency: str
) -> InvoiceFacts | Permanent | Unknown:
    """A sales receipt is paid by its nature. Of what an invoice no longer has due, all counts as paid unless only credit
    memos are linked to it: QuickBooks does not say which of them settled how much.
    """
    currency = currency_of(document, home_currency)
    if currency == "":
        return Permanent("no_currency", f"{kind} {document.get('DocNumber')}: {_NO_CURRENCY}")
    total = read_money(document.get("TotalAmt"), currency)
    due = read_money(document.get("Balance"), currency) if kind is Kind.INVOICE else read_money(0, currency)
    lines = read_lines(document.get("Line", []), currency)
    match document:
        case {"Id": str(document_id), "DocNumber": str(number)} if document_id:
            pass
        case _:
            return Unknown(f"QuickBooks answered with a {kind} without id or number")
    if total is None or due is None or lines is None:
        return Unknown(f"QuickBooks answered with a {kind} whose amounts cannot be read")
    settled = total - due
    nothing = Money(0, currency or "")
    is_credited = linked_kinds(document) == {Kind.CREDIT_MEMO.value}
    if is_void(document):
        state = InvoiceState.VOIDED
    else:
        state = InvoiceState.OPEN if due.minor else InvoiceState.PAID
    return InvoiceFacts(
        platform=SPEC.platform,
        invoice_id=document_id,
        number=number,
        state=state,
        contact_id=_text(_at(document, "CustomerRef", "value")),
        total=total,
        due=due,
        paid=nothing if is_credited else settled,
        credited=settled if is_credited else nothing,
        lines=lines,
        line_amount_types=_text(document.get("GlobalTaxCalculation")),
        document=kind.value,
        refunded_by=RefundedBy.RECEIPT,
        is_allocated=False,
    )


def read_lines(lines: object, currency: str | None) -> tuple[InvoiceLine, ...] | None:
    """The lines that carry money; None where one cannot be read. `account_code`: the item's id, which stands for its
    accounts; a discount is a negative line.
    """
    if not isinstance(lines, list):
        return None
    read: list[InvoiceLine] = []
    for line in lines:
        if not isinstance(line, dict):
            return None
        kind = line.get("DetailType")
        if kind in ("SubTotalLineDetail", "DescriptionOnly"):
            continue
        gross = read_money(line.get("Amount", 0), currency)
        if gross is None:
            return None
        quantity = _number(_at(line, "SalesItemLineDetail", "Qty")) or Decimal(0)
        is_whole = quantity.adjusted() < _UNIT_DIGITS and quantity == quantity.to_integral_value()
        read.append(
            InvoiceLine(
                description=_text(line.get("Description")),
                gross=Money(-gross.minor, gross.currency) if kind == "DiscountLineDetail" else gross,
                account_code=_text(_at(line, "SalesItemLineDetail", "ItemRef", "value")),
                tax_type=_text(_at(line, "SalesItemLineDetail", "TaxCodeRef", "value")),
                line_id=_text(line.get("Id")),
                quantity=int(quantity) if is_whole else 0,
            )
        )
    return tuple(read)


def linked_kinds(document: Mapping[str, Any]) -> set[str]:
    """What kinds of payment and credit are linked to a document; estimates and the like do not count."""
    links = document.get("LinkedTxn")
    kinds = {_text(_at(link, "TxnType")) for link in links} if isinstance(links, list) else set()
    return {kind for kind in kinds if kind in ("Payment", Kind.CREDIT_MEMO.value, "JournalEntry")}


def read_void_target(response: Response, command: VoidInvoice, kind: Kind) -> str | Outcome:
    """The lock token to void with, or the outcome where there is nothing to void. Nothing was sent yet."""
    document = document_of(response, kind)
    if document is None:
        return read_failure(response)
    wanted = command.invoice
    if is_void_since(document, command):
        return AlreadyDone(wanted.invoice_id, _NOW_VOID)
    currency = currency_of(document, wanted.total.currency)
    total = read_money(document.get("TotalAmt"), currency)
    balance = read_money(document.get("Balance"), currency)
    match document:
        case {"Id": wanted.invoice_id, "SyncToken": str(sync_token)} if total is not None and sync_token:
            if total != wanted.total:
                return Permanent(
                    "changed_meanwhile",
                    f"{kind} {wanted.number} is over {total} now, it was over {wanted.total} when this was planned: somebody "
                    "changed it; plan the case again",
                )
            if kind is Kind.INVOICE and balance is None:
                return Unknown("QuickBooks answered with an Invoice whose balance cannot be read")
            if kind is Kind.INVOICE and balance != total:
                return Permanent(
                    "has_payments",
                    f"{balance} of {total} is due on invoice {wanted.number}: something was paid or credited on it, so it "
                    "cannot be voided. Undo that in QuickBooks and replay, or plan the case again",
                )
            return sync_token
        case _:
            return Unknown(f"QuickBooks answered with a {kind} that cannot be read")


def read_void(response: Response, command: VoidInvoice, kind: Kind) -> Outcome:
    document = document_of(response, kind)
    if document is None:
        return read_failure(response, is_effect=True)
    if document.get("Id") == command.invoice.invoice_id and is_void_since(document, command):
        return Done(command.invoice.invoice_id, _NOW_VOID)
    return Unknown(f"QuickBooks answered the void of {command.invoice.number} with a {kind} that is not void")


def read_void_found(response: Response, command: VoidInvoice, kind: Kind) -> Found:
    document = document_of(response, kind)
    if document is None:
        match read_failure(response):
            case Permanent(code="610") as gone:
                return gone  # deleted: a person sees whether that is as good as void
            case failure:
                return unseen(failure)
    if document.get("Id") != command.invoice.invoice_id or _number(document.get("TotalAmt")) is None:
        return Unknown(f"QuickBooks answered with a {kind} that cannot be read")
    if is_void_since(document, command):
        return Done(command.invoice.invoice_id, _NOW_VOID)
    return NotFound(SETTLED_S, f"{kind} {command.invoice.number} is not void")


_NOW_VOID: Final = "void: all amounts are 0"


def is_void(document: Mapping[str, Any]) -> bool:
    """Whether a document says that it is void."""
    is_nothing = _number(document.get("TotalAmt")) == 0
    return is_nothing and _text(document.get("PrivateNote")).casefold().startswith("voided")


def is_void_since(document: Mapping[str, Any], command: VoidInvoice) -> bool:
    """Whether the sale is void now. One that was over something and is over nothing counts without the word, which a
    company may see in its own language.
    """
    was_something = command.invoice.total.minor != 0
    is_the_one = document.get("Id") == command.invoice.invoice_id
    is_nothing = _number(document.get("TotalAmt")) == 0
    return is_the_one and is_nothing and (was_something or is_void(document))


def document_of(response: Response, kind: Kind) -> Mapping[str, Any] | None:
    """The document that an answer carries, or None where it carries something else."""
    match response.status, response.json:
        case 200, {kind.value: dict(document)} if "Fault" not in response.json:
            return document
        case _:
            return None


# ------------------------------------------------------------------------------------------------------------
# Answers: our own documents


def read_booked(response: Response, booking: Booking, home_currency: str) -> Outcome:
    document = document_of(response, booking.kind)
    if document is None:
        return read_failure(response, is_effect=True)
    if not is_ours(document, booking.step_key):
        return Unknown(f"QuickBooks answered with a {booking.kind} that does not carry {booking.step_key}")
    return confirm(document, booking, home_currency)


def settle_rows(rows: Iterable[Mapping[str, Any]], booking: Booking, home_currency: str) -> Found:
    """What documents of the right kind say about ours: by our reference, and by our number where the reference is gone."""
    known = list(rows)
    ours = [row for row in known if is_ours(row, booking.step_key)]
    numbered = [row for row in known if row.get("DocNumber") == booking.number]
    match [row for row in ours if not is_void(row)]:
        case [document]:
            return confirm(document, booking, home_currency)
        case [_, *_] as several:
            ids = ", ".join(str(row.get("Id")) for row in several)
            return Permanent(
                "booked_twice",
                f"several {booking.kind}s are for {booking.step_key}: {ids}. Delete all but one.",
            )
    # A void takes our reference away with the rest of the note: the number is left.
    for row in (*ours, *numbered):
        if is_void(row):
            return Permanent(
                "voided",
                f"{booking.kind} {booking.number} ({row.get('Id')}) was written and is void since: a person undid it",
            )
    if numbered:
        return Permanent(
            "number_taken",
            f"{booking.kind} {booking.number} ({numbered[0].get('Id')}) exists without our reference {booking.step_key}: compare "
            "the two, and add the reference to its private note if it is this one",
        )
    return NotFound(
        SETTLED_S, f"no {booking.kind} {booking.number} in QuickBooks, nor one with our reference"
    )


def is_ours(document: Mapping[str, Any], step_key: StepKey) -> bool:
    """The key is a whole word of the note: `….1` must not be taken for `….10`."""
    return step_key in _text(document.get("PrivateNote")).split()


def confirm(document: Mapping[str, Any], booking: Booking, home_currency: str) -> Done | Permanent | Unknown:
    """Whether a document of ours says what was asked."""
    currency = currency_of(document, home_currency)
    if currency == "":
        return Unknown(f"{booking.kind} {booking.number}: {_NO_CURRENCY}")
    total = read_money(document.get("TotalAmt"), currency)
    match document.get("Id"):
        case str() as document_id if document_id and total is not None:
            if total == booking.amount:
                return Done(document_id, describe(document, booking))
            return Permanent(
                "amount_mismatch",
                f"{booking.kind} {booking.number} ({document_id}) says {total}, {booking.amount} was asked for: correct it in "
                "QuickBooks by hand (automated sales tax may have added to it: see the tax code in the settings)",
            )
        case _:
            return Unknown(f"QuickBooks answered with a {booking.kind} whose fields cannot be read")


def describe(document: Mapping[str, Any], booking: Booking) -> str:
    """What people should know of a document: the number it really has, and where a credit went."""
    words = [f"{booking.kind} {_text(document.get('DocNumber')) or 'without a number'}"]
    if booking.kind is Kind.CREDIT_MEMO:
        left = _number(document.get("RemainingCredit"))
        if left is None:
            left = _number(document.get("Balance"))
        if left:
            words.append(f"{left} of it is not applied to an invoice yet")
        links = document.get("LinkedTxn")
        others = [
            _text(_at(link, "TxnId"))
            for link in (links if isinstance(links, list) else [])
            if _at(link, "TxnType") == Kind.INVOICE.value and _at(link, "TxnId") != booking.invoice_id
        ]
        if others:
            words.append(
                f"QuickBooks applied it to invoice id {', '.join(others)}, it is meant for id {booking.invoice_id}"
            )
    return "; ".join(words)


# ------------------------------------------------------------------------------------------------------------
# What answers have in common

_NO_CURRENCY: Final = (
    "it does not name its currency; set REFUNDFLOW_QUICKBOOKS_COMMERCE_HOME_CURRENCY to the company's own"
)


def currency_of(document: Mapping[str, Any], home_currency: str) -> str | None:
    """The document's currency; the company's own where the document names none ("" where that is not known either), None
    where what stands there cannot be read.
    """
    match document.get("CurrencyRef"):
        case None:
            return home_currency
        case {"value": str(code)} if re.fullmatch(r"[A-Z]{3}", code):
            return code
        case _:
            return None


def read_money(value: object, currency: str | None) -> Money | None:
    """A JSON number in major units as money; None for anything that is no amount in that currency."""
    amount = _number(value)
    if amount is None or not currency:
        return None
    try:
        return Money.from_major(amount, currency)
    except ValueError:
        return None


def _number(value: object) -> Decimal | None:
    match value:
        case bool():
            return None
        case int() | Decimal():
            return Decimal(value)
        case _:
            return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def unseen(failure: NoAnswer) -> Unknown:
    """After a write: a look that failed says nothing about the effect, whatever its answer was."""
    return Unknown(f"could not look: {failure.reason}")


def read_fault(body: object) -> Fault | None:
    """The refusal in an answer, whatever its status."""
    match body:
        case {"Fault": {"Error": [dict(), *_] as errors, **rest}}:
            told = [error for error in errors if isinstance(error, dict)]
            words = [
                ": ".join(filter(None, (_text(each.get("Message")), _text(each.get("Detail")))))
                for each in told
            ]
            return Fault(_text(told[0].get("code")), _text(rest.get("type")), "; ".join(filter(None, words)))
        case {"Fault": _}:
            return Fault("", "", "")
        case _:
            return None


def read_failure(response: Response, *, is_effect: bool = False) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for. `is_effect`: the call could have changed something, so trouble
    inside QuickBooks may come after the act.
    """
    fault = read_fault(response.json)
    words = f"{fault.words or 'no message'}" if fault else f"status {response.status}"
    reason = f"{words}{_support_id(response)}"
    if response.status == 429:
        hint = response.retry_after_s
        return Retryable(
            "throttled", f"QuickBooks is asked too often: {reason}", _THROTTLED_S if hint is None else hint
        )
    if response.status >= 500:
        if is_effect:
            return Unknown(f"QuickBooks broke off: {reason}")
        return Retryable("unavailable", f"QuickBooks is not available: {reason}", response.retry_after_s)
    if response.status == 401:
        return _unauthorised(reason)
    means, advice = REFUSALS.get(fault.code, (None, "")) if fault else (None, "")
    match means:
        case Means.NO if fault:
            return Permanent(fault.code, f"{reason}; {advice}")
        case Means.LOOK if fault:
            return Unknown(f"{fault.code}: {reason}; {advice}")
        case Means.AGAIN if fault:
            return Retryable("unavailable", f"{fault.code}: {reason}; {advice}")
        case Means.HOUSE:
            return _unauthorised(reason)
    if response.status == 403 or (fault and fault.kind in ("AuthenticationFault", "AuthorizationFault")):
        return _unauthorised(reason)
    if fault and fault.kind == "ValidationFault":
        return Permanent(fault.code or "validation", reason)
    return Unknown(f"no clear answer from QuickBooks: {reason}")


def _unauthorised(reason: str) -> Retryable:
    return Retryable(
        "unauthorised",
        f"QuickBooks refuses our connection: {reason}; check the client, the realm id and whether the company is still connected "
        "to the app (a person may have to connect it anew)",
    )


def _support_id(response: Response) -> str:
    """The vendor's id of the call, which its support asks for."""
    tid = response.headers.get("intuit_tid", "")
    return f" (intuit_tid {tid})" if tid else ""


class Means(StrEnum):
    """What a refusal is worth. NO: never. LOOK: it may be so already, by us. AGAIN: not as it was sent, but the next try reads
    anew. HOUSE: our connection is to blame.
    """

    NO = "no"
    LOOK = "look"
    AGAIN = "again"
    HOUSE = "house"


#: Codes of errors, what they mean for the step, and what a person can do about it. Any other validation fault is a plain no.
REFUSALS: Final[Mapping[str, tuple[Means, str]]] = {
    "120": (Means.NO, "the user who connected the company may not do this"),
    "600": (Means.LOOK, "this request id was sent before: look what it came to"),
    "610": (Means.NO, "it was deleted or made inactive, or belongs to another company"),
    "2020": (Means.NO, "the company wants a field that we do not send"),
    "2170": (Means.NO, "the company does not know a word that we send"),
    "2500": (
        Means.NO,
        "the customer, or an id in the settings (item, tax code, payment method, refund_account_code) is not the company's",
    ),
    "3200": (Means.HOUSE, ""),
    "5010": (Means.AGAIN, "somebody changed it in the same moment"),
    "5020": (Means.NO, "the user who connected the company may not do this"),
    "6000": (Means.NO, "a rule of the company's books forbids it"),
    "6070": (Means.NO, "amount and unit price do not agree"),
    "6140": (Means.LOOK, "a document has this number already: look whose it is"),
    "6190": (Means.NO, "the company's subscription has lapsed"),
    "6210": (Means.NO, "the books are closed for that day: the bookkeeper decides on which day it is booked"),
    "6540": (
        Means.NO,
        "the sale is part of a bank deposit and cannot be voided any more: write a refund receipt by hand and resolve this step",
    ),
}


# ------------------------------------------------------------------------------------------------------------
# Inbound


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a delivery tells: something happened to a document. It carries ids only."""

    company: str
    what: str
    document_id: str


@dataclass(frozen=True, slots=True)
class QuickBooksInbound:
    """Webhooks of one app (https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks, read 2026-11-25).

    They are verified, kept and answered; nothing that happens in the books starts a cancellation. `realm_id`: our company;
    an app's deliveries may be about several.
    """

    platform: ClassVar[str] = SPEC.platform
    secret: Secret
    realm_id: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """The signature covers no time: that an old delivery is sent again is noticed by its id."""
        secrets = split_secrets(self.secret.reveal())
        if not secrets:
            return Refused("no webhook secret is set")
        signature = delivery.headers.get("intuit-signature", "").strip()
        if not signature:
            return Refused("the signature header is missing")
        if not is_any([sign_base64(secret, delivery.body) for secret in secrets], [signature]):
            return Refused("the signature does not match")
        return Verified(*identify(delivery.body))

    def read_event(self, topic: str, body: bytes) -> Irrelevant:
        """Raises MalformedError for a body of neither form."""
        changes = read_changes(body)
        ours = [each for each in changes if self.realm_id in ("", each.company)]
        if not ours:
            return Irrelevant("it is about another company" if changes else "it tells of nothing")
        told = ", ".join(f"{each.what} {each.document_id}".strip() for each in ours[:10])
        return Irrelevant(f"the books' own documents start nothing: {told}")


def identify(body: bytes) -> tuple[str, str]:
    """A delivery's own id and what it is about: both the event's, where it brings one; else a digest over the ids of all,
    or over the body where there are none (the form used until 2026).
    """
    match parse_json(body):
        case [{"id": str(event_id), "type": str(topic)}] if event_id and topic:
            return event_id, topic
        case list(events):
            ids = [each.get("id") if isinstance(each, dict) else None for each in events]
            texts = sorted(each for each in ids if isinstance(each, str))
            if texts and len(texts) == len(ids):
                return hashlib.sha256("\n".join(texts).encode()).hexdigest(), "events"
            return hashlib.sha256(body).hexdigest(), "events"
        case {"eventNotifications": _}:
            return hashlib.sha256(body).hexdigest(), "eventNotifications"
        case _:
            return hashlib.sha256(body).hexdigest(), "unknown"


def read_changes(body: bytes) -> list[Change]:
    """Both forms of a delivery: a list of CloudEvents, and the object that was sent until 2026. Raises MalformedError."""
    match parse_json(body):
        case list(events):
            return [_read_event(each, f"[{place}]") for place, each in enumerate(events)]
        case {"eventNotifications": list(notifications)}:
            return [
                change
                for place, each in enumerate(notifications)
                for change in _read_notification(each, f"eventNotifications[{place}]")
            ]
        case {"eventNotifications": _}:
            raise MalformedError("eventNotifications", "is not a list")
        case _:
            raise MalformedError("$", "is neither a list of events nor an object with eventNotifications")


def _read_event(event: object, path: str) -> Change:
    names = ("intuitaccountid", "type", "intuitentityid")
    return Change(*(_need_text(event, name, path) for name in names))


def _read_notification(notification: object, path: str) -> list[Change]:
    company = _need_text(notification, "realmId", path)
    entities = _at(notification, "dataChangeEvent", "entities")
    if not isinstance(entities, list):
        raise MalformedError(f"{path}.dataChangeEvent.entities", "is not a list")
    changes = []
    for place, entity in enumerate(entities):
        where = f"{path}.dataChangeEvent.entities[{place}]"
        name, operation, document_id = (
            _need_text(entity, field, where) for field in ("name", "operation", "id")
        )
        changes.append(Change(company, f"{name} {operation}", document_id))
    return changes


def _need_text(value: object, name: str, path: str) -> str:
    match _at(value, name):
        case str() as text if text:
            return text
        case _:
            raise MalformedError(f"{path}.{name}", "is not a text")
