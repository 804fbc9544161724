"""Practice Xero: Accounting API 2.0 for one organisation, with its token endpoint and its connections list.

Paths: `/connect/token` (identity.xero.com) and `/connections`, `/api.xro/2.0/…` (api.xero.com) live under one prefix.
Shapes and rules: the vendor's OpenAPI file 16.1.0 and its developer documentation, https://developer.xero.com, read
2026-11-23. Where they are silent, `Habits` names the reading that is practised and lets a rehearsal choose the other.

Strict about: `Accept` (XML without JSON in it), tenant, scopes and token age, PUT that creates against POST that also
overwrites, document states, unique credit-note numbers, amounts due and left, contact and currency of an allocation,
accounts that take payments, lock dates, and `Idempotency-Key`.

A subscription for webhooks gets `INVOICE.UPDATE`, `CREDITNOTE.CREATE` and `CREDITNOTE.UPDATE`, one event a request.

Book: `void_invoice`, `delete_invoice`, `update_invoice`, `create_credit_note`, `update_credit_note`,
`void_credit_note`, `delete_credit_note`, `allocate`, `delete_allocation`, `record_refund` (a payment on a credit note),
`record_payment` (a payment on an invoice), `delete_payment`, `note_history`. Amounts in minor units.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import operator
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree

from refundflow.domain.money import Money, exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Handler,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

CLIENT_ID: Final = "practice-xero-client"
CLIENT_SECRET: Final = "practice-xero-secret"  # noqa: S105 (a practice secret, known to everybody)
TENANT_ID: Final = "7a1f4b6e-3c52-4f0e-9d0c-5b1f2a7c9e10"
TOKEN_LIFE_S: Final = 1800
KEY_LENGTH: Final = 128
PAGE_SIZE: Final = 100
PAGE_SIZE_MOST: Final = 1000

_ROOT: Final = "/api.xro/2.0"
_BOTH: Final = ("accounting.transactions",)
# What an operation needs, any one of; writing scopes also read. Old broad scopes serve apps made before March 2026.
_INVOICES: Final = ("accounting.invoices", *_BOTH)
_PAYMENTS: Final = ("accounting.payments", *_BOTH)
_SETTINGS: Final = ("accounting.settings", "accounting.settings.read")
_SCOPES: Final = frozenset(
    f"accounting.{area}{suffix}"
    for area in ("invoices", "payments", "settings", "contacts", "transactions")
    for suffix in ("", ".read")
)
_TAX_PERCENT: Final = {
    "NONE": Decimal(0),
    "ZERORATEDOUTPUT": Decimal(0),
    "EXEMPTOUTPUT": Decimal(0),
    "OUTPUT": Decimal(10),
    "OUTPUT2": Decimal(15),
    "TAX001": Decimal("8.25"),
}
_CHANGES: Final[Mapping[str, frozenset[str]]] = {
    "DRAFT": frozenset({"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"}),
    "SUBMITTED": frozenset({"SUBMITTED", "DRAFT", "AUTHORISED", "DELETED"}),
    "AUTHORISED": frozenset({"AUTHORISED", "VOIDED"}),
    "PAID": frozenset(),
    "VOIDED": frozenset(),
    "DELETED": frozenset(),
}
# The names that a `where` may begin with, per list.
_DOCUMENT: Final = (
    "Type",
    "Contact",
    "Date",
    "Reference",
    "CurrencyCode",
    "Status",
    "Total",
    "SubTotal",
    "TotalTax",
)
_FILTERS: Final[Mapping[str, Sequence[str]]] = {
    "Invoices": (
        *_DOCUMENT,
        *("InvoiceID", "InvoiceNumber", "DueDate", "AmountDue", "AmountPaid", "AmountCredited"),
    ),
    "CreditNotes": (*_DOCUMENT, "CreditNoteID", "CreditNoteNumber", "RemainingCredit"),
    "Payments": (
        *("PaymentID", "PaymentType", "Status", "Date", "Invoice", "CreditNote", "Account", "Amount"),
        *("Reference", "IsReconciled"),
    ),
    "Accounts": (
        "AccountID",
        "Code",
        "Name",
        "Type",
        "Status",
        "EnablePaymentsToAccount",
        "CurrencyCode",
        "TaxType",
    ),
}
_CONDITION: Final = re.compile(
    r"\s*(?P<path>[A-Za-z]+(?:\.[A-Za-z]+)*)\s*(?P<sign>==|!=|>=|<=|=|>|<)\s*"
    r"(?:[Gg]uid\(\s*\"(?P<guid>[0-9A-Fa-f-]+)\"\s*\)|\"(?P<text>(?:[^\"\\]|\\.)*)\"|(?P<word>null|true|false)"
    r"|(?P<number>-?\d+(?:\.\d+)?))\s*"
)
_ORDER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_JOINT: Final = re.compile(r"(?P<and>AND\b|&&)|(?P<or>OR\b|\|\|)", re.IGNORECASE)


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing.

    `key_life_s`: how long a used `Idempotency-Key` is remembered. `is_note_found_by_number`: whether
    `/CreditNotes/{number}` works. `needs_tenant`: whether a call without `xero-tenant-id` is refused.
    """

    key_life_s: int = 360
    is_note_found_by_number: bool = True
    needs_tenant: bool = False


@dataclass(slots=True)
class _Token:
    scopes: frozenset[str]
    expires: datetime


@dataclass(slots=True)
class _Key:
    """A used idempotency key. `answer`: None while the first call with it is still at work."""

    fingerprint: str
    used: datetime
    answer: Answer | None = None


@dataclass(slots=True)
class _Account:
    account_id: str
    code: str
    name: str
    type: str
    takes_payments: bool = False
    status: str = "ACTIVE"
    currency: str | None = None
    tax_type: str = "NONE"


@dataclass(slots=True)
class _Contact:
    contact_id: str
    name: str


@dataclass(slots=True)
class _Line:
    """`unit` and `quantity` as sent; `line_minor` before or with tax, as the document's line amounts say."""

    line_id: str
    description: str
    quantity: Decimal
    unit: Decimal
    account_code: str | None
    tax_type: str
    item_code: str | None
    discount_percent: Decimal | None
    line_minor: int
    tax_minor: int


@dataclass(slots=True)
class _Payment:
    payment_id: str
    document: _Document
    account: _Account
    day: date
    minor: int
    reference: str
    updated: datetime
    status: str = "AUTHORISED"


@dataclass(slots=True)
class _Allocation:
    allocation_id: str
    note: _Document
    invoice: _Document
    minor: int
    day: date


@dataclass(slots=True)
class _Document:
    """An invoice or a credit note. `state` is never PAID: that follows from the amounts, see `status`."""

    document_id: str
    is_note: bool
    type: str
    number: str
    contact: _Contact
    currency: str
    day: date
    due_day: date
    reference: str
    amounts: str
    state: str
    lines: list[_Line]
    updated: datetime
    payments: list[_Payment] = field(default_factory=list)
    allocations: list[_Allocation] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)

    @property
    def tax_minor(self) -> int:
        return sum(line.tax_minor for line in self.lines)

    @property
    def total_minor(self) -> int:
        lines = sum(line.line_minor for line in self.lines)
        return lines + self.tax_minor if self.amounts == "Exclusive" else lines

    @property
    def paid_minor(self) -> int:
        return sum(each.minor for each in self.payments if each.status == "AUTHORISED")

    @property
    def allocated_minor(self) -> int:
        return sum(each.minor for each in self.allocations)

    @property
    def left_minor(self) -> int:
        """What is due on an invoice, what is left of a credit note; nothing once it is voided or deleted."""
        if self.state in ("VOIDED", "DELETED"):
            return 0
        return self.total_minor - self.paid_minor - self.allocated_minor

    @property
    def status(self) -> str:
        return "PAID" if self.state == "AUTHORISED" and self.left_minor == 0 else self.state

    @property
    def is_touched(self) -> bool:
        return self.paid_minor > 0 or self.allocated_minor > 0


class _InvalidError(Exception):
    """One element of a request is refused; becomes its `ValidationErrors`."""

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = messages


@dataclass(frozen=True, slots=True)
class _Deed:
    """What one element of a request did. `commit` writes the book and tells; `undo` takes it back before that."""

    shown: Callable[[], Record]
    commit: Callable[[], None]
    undo: Callable[[], None]


class Xero(Vendor):
    """One organisation's books. `habits`: unwritten behaviour; `lock_date` (in `organisation`): the period lock."""

    name: ClassVar[str] = "xero"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        keyed = self._keyed
        invoice, note, payment = (
            f"{_ROOT}/Invoices/{{id}}",
            f"{_ROOT}/CreditNotes/{{id}}",
            f"{_ROOT}/Payments/{{id}}",
        )
        self._routes = (
            Route("POST", "/connect/token", "token", self._token, is_open=True),
            Route("GET", "/connections", "connections", self._connections),
            Route("GET", "/Connections", "connections", self._connections),
            Route("GET", f"{_ROOT}/Organisation", "get_organisation", self._get_organisation),
            Route("GET", f"{_ROOT}/Accounts", "list_accounts", self._list_accounts),
            Route("GET", f"{_ROOT}/Invoices", "list_invoices", self._list_invoices),
            Route("GET", invoice, "get_invoice", self._get_invoice),
            Route("POST", invoice, "update_invoice", keyed(self._update_invoice)),
            Route("GET", f"{invoice}/History", "get_invoice_history", self._get_history),
            Route("PUT", f"{invoice}/History", "add_invoice_history", keyed(self._add_history)),
            Route("GET", f"{_ROOT}/CreditNotes", "list_credit_notes", self._list_notes),
            Route("PUT", f"{_ROOT}/CreditNotes", "create_credit_note", keyed(self._create_notes)),
            Route("POST", f"{_ROOT}/CreditNotes", "create_or_update_credit_note", keyed(self._upsert_notes)),
            Route("GET", note, "get_credit_note", self._get_note),
            Route("POST", note, "update_credit_note", keyed(self._update_note)),
            Route("PUT", f"{note}/Allocations", "allocate_credit_note", keyed(self._allocate)),
            Route(
                "DELETE", f"{note}/Allocations/{{allocation}}", "delete_allocation", self._delete_allocation
            ),
            Route("GET", f"{_ROOT}/Payments", "list_payments", self._list_payments),
            Route("PUT", f"{_ROOT}/Payments", "create_payment", keyed(self._create_payments)),
            Route("GET", payment, "get_payment", self._get_payment),
            Route("POST", payment, "delete_payment", keyed(self._delete_payment)),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    # ------------------------------------------------------------ state

    def clear(self) -> None:
        self.habits = Habits()
        self.organisation: Record = {
            "OrganisationID": TENANT_ID,
            "Name": "Practice Shop",
            "LegalName": "Practice Shop",
            "BaseCurrency": "USD",
            "CountryCode": "US",
            "Version": "US",
            "OrganisationType": "COMPANY",
            "OrganisationStatus": "ACTIVE",
            "Class": "DEMO",
            "Edition": "BUSINESS",
            "IsDemoCompany": True,
            "PaysTax": True,
            "Timezone": "UTC",
            "ShortCode": "!Pr4c7",
        }
        self.lock_date: date | None = None
        self.year_lock_date: date | None = None
        self._tokens: dict[str, _Token] = {}
        self._keys: dict[str, _Key] = {}
        self._contacts: dict[str, _Contact] = {}
        self._accounts: dict[str, _Account] = {}
        self._invoices: dict[str, _Document] = {}
        self._notes: dict[str, _Document] = {}
        self._payments: dict[str, _Payment] = {}
        self._events: list[Event] = []
        for code, name, kind, takes in (
            ("090", "Business Bank Account", "BANK", False),
            ("092", "Payment provider clearing", "CURRENT", True),
            ("200", "Sales", "REVENUE", False),
            ("400", "Advertising", "EXPENSE", False),
            ("610", "Accounts Receivable", "CURRENT", False),
        ):
            self._accounts[code] = _Account(str(uuid.uuid4()), code, name, kind, takes)

    def seed(self, data: Record) -> Record:
        """Makes contacts, accounts and invoices, in the vendor's own words; none of it is written in the book.

        `{"organisation": {"BaseCurrency": "EUR", "PeriodLockDate": "2026-10-31"}, "habits": {"key_life_s": 360},
        "contacts": [{"Name": …, "ContactID"?}], "accounts": [{"Code", "Name", "Type", "EnablePaymentsToAccount"?,
        "Status"?, "CurrencyCode"?}], "invoices": [{"InvoiceNumber", "Contact": {"Name"}, "CurrencyCode"?, "Status"?
        (AUTHORISED), "Date"?, "DueDate"?, "Reference"?, "LineAmountTypes"?, "LineItems": […], "AmountPaid"?,
        "PaymentAccount"? ("092")}]}` → the contacts, accounts and invoices as the API would show them.
        """
        try:
            return self._seed(data)
        except (_InvalidError, KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed xero: {', '.join(str(each) for each in wrong.args)}") from wrong

    def _seed(self, data: Record) -> Record:
        self.habits = replace(self.habits, **data.get("habits", {}))
        for name, value in data.get("organisation", {}).items():
            match name:
                case "PeriodLockDate":
                    self.lock_date = None if value is None else _day(value)
                case "EndOfYearLockDate":
                    self.year_lock_date = None if value is None else _day(value)
                case _:
                    self.organisation[name] = value
        contacts = [
            self._contact({"ContactID": str(uuid.uuid4()), **each}, is_seed=True)
            for each in data.get("contacts", ())
        ]
        accounts = []
        for each in data.get("accounts", ()):
            account = _Account(
                str(uuid.uuid4()),
                each["Code"],
                each["Name"],
                each["Type"],
                each.get("EnablePaymentsToAccount", False),
                each.get("Status", "ACTIVE"),
                each.get("CurrencyCode"),
            )
            self._accounts[account.code] = account
            accounts.append(account)
        invoices = [self._seed_invoice(_decimals(each)) for each in data.get("invoices", ())]
        return {
            "contacts": [{"ContactID": each.contact_id, "Name": each.name} for each in contacts],
            "accounts": [self._show_account(each) for each in accounts],
            "invoices": [self._show(each) for each in invoices],
        }

    def _seed_invoice(self, data: Record) -> _Document:
        number = data["InvoiceNumber"]
        if any(each.number == number for each in self._invoices.values()):
            raise _InvalidError(f"there is an invoice {number} already")
        state = data.get("Status", "AUTHORISED")
        document = self._build({"Type": "ACCREC", **data}, is_note=False, number=number)
        document.state = "AUTHORISED" if state == "PAID" else state
        self._invoices[document.document_id] = document
        paid = data.get(
            "AmountPaid", None if state != "PAID" else _number(document.total_minor, document.currency)
        )
        if paid:
            account = self._accounts[data.get("PaymentAccount", "092")]
            minor = _minor(Decimal(str(paid)), document.currency, "AmountPaid")
            self._add_payment(document, account, document.day, minor, data.get("Reference", ""))
        if state == "PAID" and document.status != "PAID":
            raise _InvalidError(f"invoice {number} is PAID yet not paid in full")
        return document

    def settle(self, data: Record) -> Record:
        """What a person in Xero, or time, does. `{"invoice": id or number, "status": "VOIDED" | "DELETED" | "PAID"}`
        (PAID records the customer's payment of what is due); `{"token": "expired"}` ends every token.
        """
        match data:
            case {"token": "expired"}:
                count = len(self._tokens)
                for token in self._tokens.values():
                    token.expires = self.world.clock()
                return {"tokens": count}
            case {"invoice": str(key), "status": str(status)}:
                invoice = self._find_invoice(key)
                if invoice is None:
                    raise NoSuchObjectError(f"xero has no invoice {key!r}")
                if status == "PAID" and invoice.status == "AUTHORISED":
                    self._add_payment(
                        invoice, self._accounts["092"], self._today(), invoice.left_minor, "by hand"
                    )
                else:
                    try:
                        self._check_change(invoice, status)
                    except _InvalidError as wrong:
                        raise ValueError(str(wrong)) from wrong
                    invoice.state = status
                self._tell(invoice, "UPDATE")
                return self._show(invoice)
            case _:
                raise ValueError('xero settles {"invoice": …, "status": …} or {"token": "expired"}')

    # ------------------------------------------------------------ who calls

    def authorise(self, call: Call) -> Answer | None:
        """A live token with a fitting scope, and our tenant where one is named."""
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            return _problem(401, "Unauthorized", "AuthenticationUnsuccessful")
        if token.expires <= self.world.clock():
            return _problem(401, "Unauthorized", "TokenExpired: token expired")
        if call.operation in ("connections", "unknown"):
            return None
        needed = _needed_scopes(call.path, call.method)
        if not token.scopes.intersection(needed):
            return _problem(403, "Forbidden", f"insufficient_scope: needs one of {' '.join(needed)}")
        tenant = call.headers.get("xero-tenant-id", "")
        if (tenant or self.habits.needs_tenant) and tenant.lower() != TENANT_ID:
            return _problem(403, "Forbidden", "AuthenticationUnsuccessful")
        return None

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _problem(401, "Unauthorized", "TokenExpired: token expired")

    def refuse(self, call: Call) -> Answer:
        """A ValidationException; the fault's `code` is its message."""
        message = call.fault.code if call.fault is not None else ""
        return _validation([({}, (message or "The document cannot be changed",))])

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _absent()

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        """429 has no body at all; other trouble comes in the form of an ApiException."""
        if status == 429:
            return ""
        return {"ErrorNumber": 500, "Type": "InternalServerException", "Message": "An error occurred in Xero"}

    def begin(self, call: Call) -> Answer | None:
        """Replays the answer of a call that used the same key for the same request; another request with it is refused."""
        key = call.headers.get("idempotency-key")
        if key is None or call.method not in ("PUT", "POST") or call.operation == "token":
            return None
        if not 0 < len(key) <= KEY_LENGTH:
            raise RefusalError(
                _exception(
                    400, 14, "PostDataInvalidException", f"Idempotency-Key has 1 to {KEY_LENGTH} characters"
                )
            )
        now = self.world.clock()
        life = timedelta(seconds=self.habits.key_life_s)
        self._keys = {name: each for name, each in self._keys.items() if now - each.used < life}
        used = self._keys.get(key)
        if used is None:
            self._keys[key] = _Key(_fingerprint(call), now)
            return None
        if used.fingerprint != _fingerprint(call):
            raise RefusalError(
                _exception(
                    400,
                    14,
                    "PostDataInvalidException",
                    "Idempotency-Key was used for another request already",
                )
            )
        if used.answer is None:
            return _problem(409, "Conflict", "A request with this Idempotency-Key is at work")
        if any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.REFUSE_AUTH)):
            # What stands in front of the API answers before it can look into its memory.
            return None
        return self.finish(call, used.answer)

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Adds the limit headers, frees a key whose call did nothing, and writes XML for whoever did not ask for JSON."""
        key = self._keys.get(call.headers.get("idempotency-key", ""))
        if key is not None and key.answer is None and key.fingerprint == _fingerprint(call):
            del self._keys[call.headers["idempotency-key"]]
        limits = {
            "X-MinLimit-Remaining": "59",
            "X-DayLimit-Remaining": "4999",
            "X-AppMinLimit-Remaining": "9999",
        }
        if answer.status == 429:
            limits |= {"X-MinLimit-Remaining": "0", "X-Rate-Limit-Problem": "minute", "Retry-After": "60"}
        given = {name.lower() for name in answer.headers}
        kept = {name: value for name, value in limits.items() if name.lower() not in given}
        answer = replace(answer, headers={**answer.headers, **kept})
        if (
            call.path.startswith(_ROOT)
            and isinstance(answer.body, dict)
            and not _is_problem(answer)
            and "application/json" not in call.headers.get("accept", "").lower()
        ):
            return replace(answer, body=_xml(answer.body), content_type="text/xml; charset=utf-8")
        return answer

    def _keyed(self, handle: Handler) -> Handler:
        """The handler, with its answer kept for the key at the moment of the act: a lost reply does not lose it."""

        def act(call: Call) -> Answer:
            key = self._keys.get(call.headers.get("idempotency-key", ""))
            if key is None:
                return handle(call)
            if key.answer is None:
                key.answer = handle(call)
            return key.answer

        return act

    def _token(self, call: Call) -> Answer:
        if call.content_type != "application/x-www-form-urlencoded":
            return Answer(400, {"error": "invalid_request"})
        if _basic(call.headers.get("authorization", "")) != (CLIENT_ID, CLIENT_SECRET):
            return Answer(400, {"error": "invalid_client"})
        form = dict(call.form_pairs)
        if form.get("grant_type") != "client_credentials":
            return Answer(400, {"error": "unsupported_grant_type"})
        scopes = frozenset(form["scope"].split()) if form.get("scope") else _SCOPES
        if not scopes <= _SCOPES:
            return Answer(400, {"error": "invalid_scope"})
        value = self.mint("practice.", 48)
        self._tokens[value] = _Token(scopes, self.world.clock() + timedelta(seconds=TOKEN_LIFE_S))
        return Answer(
            200,
            {
                "access_token": value,
                "expires_in": TOKEN_LIFE_S,
                "token_type": "Bearer",
                "scope": " ".join(sorted(scopes)),
            },
        )

    def _connections(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        made = "2026-03-02T09:00:00.0000000"
        return Answer(
            200,
            [
                {
                    "id": str(uuid.uuid5(uuid.UUID(TENANT_ID), "connection")),
                    "authEventId": str(uuid.uuid5(uuid.UUID(TENANT_ID), "event")),
                    "tenantId": TENANT_ID,
                    "tenantType": "ORGANISATION",
                    "tenantName": self.organisation["Name"],
                    "createdDateUtc": made,
                    "updatedDateUtc": made,
                }
            ],
        )

    # ------------------------------------------------------------ reading

    def _get_organisation(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        shown = dict(self.organisation)
        for name, day in (("PeriodLockDate", self.lock_date), ("EndOfYearLockDate", self.year_lock_date)):
            if day is not None:
                shown[name] = _ms(day)
        return self._ok({"Organisations": [shown]})

    def _list_accounts(self, call: Call) -> Answer:
        shown = [self._show_account(each) for each in self._accounts.values()]
        return self._ok({"Accounts": _where(call, "Accounts", shown)})

    def _list_invoices(self, call: Call) -> Answer:
        query = _query(call)
        chosen = [each for each in self._invoices.values() if self._is_since(call, each.updated)]
        shown = [self._show(each) for each in chosen]
        for name, field_name in (
            ("InvoiceNumbers", "InvoiceNumber"),
            ("IDs", "InvoiceID"),
            ("Statuses", "Status"),
        ):
            if query.get(name):
                wanted = {value.strip().lower() for value in query[name].split(",")}
                shown = [each for each in shown if each[field_name].lower() in wanted]
        return self._list(call, "Invoices", shown)

    def _list_notes(self, call: Call) -> Answer:
        chosen = [each for each in self._notes.values() if self._is_since(call, each.updated)]
        return self._list(call, "CreditNotes", [self._show(each) for each in chosen])

    def _list_payments(self, call: Call) -> Answer:
        chosen = [each for each in self._payments.values() if self._is_since(call, each.updated)]
        return self._list(call, "Payments", [self._show_payment(each) for each in chosen])

    def _list(self, call: Call, name: str, shown: list[Record]) -> Answer:
        """Filters, then pages. Without `page` everything comes at once, but documents come without their lines."""
        shown = _where(call, name, shown)
        query = _query(call)
        if "page" not in query:
            return self._ok(
                {name: [{**each, "LineItems": []} if "LineItems" in each else each for each in shown]}
            )
        page, size = query["page"], query.get("pageSize", str(PAGE_SIZE))
        if not (page.isdigit() and size.isdigit() and int(page) > 0 and 0 < int(size) <= PAGE_SIZE_MOST):
            raise RefusalError(
                _exception(400, 16, "QueryParseException", "page and pageSize are positive numbers")
            )
        first = (int(page) - 1) * int(size)
        paging = {
            "page": int(page),
            "pageSize": int(size),
            "pageCount": math.ceil(len(shown) / int(size)),
            "itemCount": len(shown),
        }
        return self._ok({"pagination": paging, name: shown[first : first + int(size)]})

    def _get_invoice(self, call: Call) -> Answer:
        return self._ok({"Invoices": [self._show(self._invoice(call))]})

    def _get_note(self, call: Call) -> Answer:
        return self._ok({"CreditNotes": [self._show(self._note(call))]})

    def _get_payment(self, call: Call) -> Answer:
        return self._ok({"Payments": [self._show_payment(self._payment(call))]})

    def _get_history(self, call: Call) -> Answer:
        return self._ok({"HistoryRecords": list(reversed(self._invoice(call).history))})

    # ------------------------------------------------------------ writing

    def _update_invoice(self, call: Call) -> Answer:
        invoice = self._invoice(call)
        return self._carry_out(
            call, "Invoices", lambda data: self._change_invoice(invoice, data, _key_of(call))
        )

    def _change_invoice(self, invoice: _Document, data: Record, key: str | None) -> _Deed:
        if _text(data, "InvoiceID", invoice.document_id).lower() != invoice.document_id:
            raise _InvalidError("InvoiceID differs from the one in the address")
        if strange := sorted(set(data) - {"InvoiceID", "InvoiceNumber", "Type", "Status", "Reference"}):
            raise _InvalidError(
                f"Practice Xero changes Status and Reference of an invoice, not {', '.join(strange)}"
            )
        was = (invoice.state, invoice.reference, invoice.updated)
        status = _text(data, "Status", invoice.status)
        self._check_change(invoice, status)
        invoice.state, invoice.reference = status, _text(data, "Reference", invoice.reference)
        invoice.updated = self.world.clock()

        def undo() -> None:
            invoice.state, invoice.reference, invoice.updated = was

        effect = {"VOIDED": "void_invoice", "DELETED": "delete_invoice"}.get(status, "update_invoice")
        return _Deed(lambda: self._show(invoice), lambda: self._enter(effect, invoice, key), undo)

    def _create_notes(self, call: Call) -> Answer:
        return self._carry_out(call, "CreditNotes", lambda data: self._create_note(data, _key_of(call)))

    def _upsert_notes(self, call: Call) -> Answer:
        """POST without an id in the address: overwrites where id or number is known, else creates."""

        def act(data: Record) -> _Deed:
            wanted = (_text(data, "CreditNoteID", "").lower(), _text(data, "CreditNoteNumber", ""))
            for note in self._notes.values():
                if note.document_id == wanted[0] or (wanted[1] and note.number == wanted[1]):
                    return self._change_note(note, data, _key_of(call))
            return self._create_note(data, _key_of(call))

        return self._carry_out(call, "CreditNotes", act)

    def _update_note(self, call: Call) -> Answer:
        note = self._note(call)
        return self._carry_out(call, "CreditNotes", lambda data: self._change_note(note, data, _key_of(call)))

    def _create_note(self, data: Record, key: str | None) -> _Deed:
        number = _text(data, "CreditNoteNumber", "") or self._next_note_number()
        kind = _text(data, "Type", "")
        if kind not in ("ACCRECCREDIT", "ACCPAYCREDIT"):
            raise _InvalidError("Type of a credit note is ACCRECCREDIT or ACCPAYCREDIT")
        if kind == "ACCRECCREDIT" and any(
            each.number == number for each in self._notes.values() if each.type == kind
        ):
            raise _InvalidError("Credit note number must be unique")
        status = _text(data, "Status", "DRAFT")
        if status not in ("DRAFT", "SUBMITTED", "AUTHORISED"):
            raise _InvalidError(f"A credit note cannot be created as {status}")
        note = self._build(data, is_note=True, number=number)
        note.state = status
        self._check_open(note.day)
        self._notes[note.document_id] = note
        return _Deed(
            lambda: self._show(note),
            lambda: self._enter("create_credit_note", note, key),
            lambda: _drop(self._notes, note.document_id),
        )

    def _change_note(self, note: _Document, data: Record, key: str | None) -> _Deed:
        if note.is_touched and _text(data, "Status", note.status) == "VOIDED":
            raise _InvalidError("A credit note with payments or allocations cannot be voided")
        if note.is_touched or note.state in ("VOIDED", "DELETED"):
            raise _InvalidError("Credit note not of valid status for modification")
        status = _text(data, "Status", note.state)
        if status not in _CHANGES[note.status]:
            raise _InvalidError(f"A credit note that is {note.status} cannot become {status}")
        self._check_open(note.day)
        after = replace(note, state=status, reference=_text(data, "Reference", note.reference))
        if "LineItems" in data:
            asked = {
                "Type": note.type,
                "Contact": {"ContactID": note.contact.contact_id},
                "CurrencyCode": note.currency,
                "LineAmountTypes": note.amounts,
                "Date": note.day.isoformat(),
                "Reference": note.reference,
                **data,
                "Status": status,
            }
            built = self._build(asked, is_note=True, number=note.number)
            self._check_open(built.day)
            after = replace(built, document_id=note.document_id, state=status, payments=note.payments)
        was = replace(note)
        _become(note, replace(after, updated=self.world.clock()))
        effect = {"VOIDED": "void_credit_note", "DELETED": "delete_credit_note"}.get(
            status, "update_credit_note"
        )
        return _Deed(
            lambda: self._show(note), lambda: self._enter(effect, note, key), lambda: _become(note, was)
        )

    def _allocate(self, call: Call) -> Answer:
        note = self._note(call)
        return self._carry_out(
            call, "Allocations", lambda data: self._allocate_one(note, data, _key_of(call))
        )

    def _allocate_one(self, note: _Document, data: Record, key: str | None) -> _Deed:
        if missing := [name for name in ("Amount", "Invoice", "Date") if name not in data]:
            raise _InvalidError(*(f"{name} of the allocation is missing" for name in missing))
        invoice = self._target(data, "Invoice", self._invoices, self._find_invoice)
        minor = _minor(data["Amount"], note.currency, "Amount")
        day = _day(data["Date"])
        wrong = []
        if note.status != "AUTHORISED":
            wrong.append(f"A credit note that is {note.status} cannot be allocated")
        if invoice.status != "AUTHORISED":
            wrong.append(f"An invoice that is {invoice.status} takes no allocation")
        if (note.type, invoice.type) not in (("ACCRECCREDIT", "ACCREC"), ("ACCPAYCREDIT", "ACCPAY")):
            wrong.append("Credit note and invoice are of different kinds")
        if invoice.contact is not note.contact:
            wrong.append("Credit note and invoice have different contacts")
        if invoice.currency != note.currency:
            wrong.append("Credit note and invoice have different currencies")
        if minor > invoice.left_minor:
            wrong.append("The amount is more than what is due on the invoice")
        if minor > note.left_minor:
            wrong.append("The amount is more than what is left of the credit note")
        if wrong:
            raise _InvalidError(*wrong)
        self._check_open(day)
        made = _Allocation(str(uuid.uuid4()), note, invoice, minor, day)
        note.allocations.append(made)
        invoice.allocations.append(made)

        def undo() -> None:
            note.allocations.remove(made)
            invoice.allocations.remove(made)

        def commit() -> None:
            self.book.write(
                "allocate",
                id=made.allocation_id,
                amount_minor=minor,
                currency=note.currency,
                target={"credit_note": note.number, "invoice": invoice.number},
                reference=note.reference,
                idempotency_key=key,
            )
            self._touch(note, invoice)

        return _Deed(lambda: self._show_allocation(made), commit, undo)

    def _delete_allocation(self, call: Call) -> Answer:
        note = self._note(call)
        for made in note.allocations:
            if made.allocation_id == call.ids["allocation"].lower():
                self._check_open_or_refuse(made.day)
                note.allocations.remove(made)
                made.invoice.allocations.remove(made)
                self.book.write(
                    "delete_allocation",
                    id=made.allocation_id,
                    amount_minor=made.minor,
                    currency=note.currency,
                    target={"credit_note": note.number, "invoice": made.invoice.number},
                    reference=note.reference,
                )
                self._touch(note, made.invoice)
                return self._ok({"AllocationID": made.allocation_id, "IsDeleted": True})
        return _absent()

    def _create_payments(self, call: Call) -> Answer:
        return self._carry_out(call, "Payments", lambda data: self._create_payment(data, _key_of(call)))

    def _create_payment(self, data: Record, key: str | None) -> _Deed:
        if ("CreditNote" in data) == ("Invoice" in data):
            raise _InvalidError("A payment names either an Invoice or a CreditNote")
        if "CreditNote" in data:
            document = self._target(data, "CreditNote", self._notes, self._find_note)
        else:
            document = self._target(data, "Invoice", self._invoices, self._find_invoice)
        account = self._paying_account(data.get("Account"), document)
        if "Amount" not in data:
            raise _InvalidError("Amount of the payment is missing")
        minor = _minor(data["Amount"], document.currency, "Amount")
        day = _day(data["Date"]) if "Date" in data else self._today()
        if document.state != "AUTHORISED":
            raise _InvalidError(f"A document that is {document.status} takes no payment")
        if minor > document.left_minor:
            raise _InvalidError("Payment amount exceeds the amount outstanding on this document")
        self._check_open(day)
        made = self._add_payment(document, account, day, minor, _text(data, "Reference", ""))

        def undo() -> None:
            document.payments.remove(made)
            _drop(self._payments, made.payment_id)

        def commit() -> None:
            self.book.write(
                "record_refund" if document.is_note else "record_payment",
                id=made.payment_id,
                amount_minor=minor,
                currency=document.currency,
                target={
                    "credit_note" if document.is_note else "invoice": document.number,
                    "account": account.code,
                },
                reference=made.reference,
                idempotency_key=key,
            )
            self._touch(document)

        return _Deed(lambda: self._show_payment(made), commit, undo)

    def _delete_payment(self, call: Call) -> Answer:
        payment = self._payment(call)

        def act(data: Record) -> _Deed:
            if data.get("Status") != "DELETED":
                raise _InvalidError("The only change of a payment is its Status, to DELETED")
            if payment.status == "DELETED":
                raise _InvalidError("Payment is deleted already")
            self._check_open(payment.day)
            payment.status, payment.updated = "DELETED", self.world.clock()

            def undo() -> None:
                payment.status = "AUTHORISED"

            def commit() -> None:
                self.book.write(
                    "delete_payment",
                    id=payment.payment_id,
                    amount_minor=payment.minor,
                    currency=payment.document.currency,
                    target={"document": payment.document.number},
                    reference=payment.reference,
                    idempotency_key=_key_of(call),
                )
                self._touch(payment.document)

            return _Deed(lambda: self._show_payment(payment), commit, undo)

        return self._carry_out(call, "Payments", act)

    def _add_history(self, call: Call) -> Answer:
        invoice = self._invoice(call)

        def act(data: Record) -> _Deed:
            details = _text(data, "Details", "")
            if not 0 < len(details) <= 2500:
                raise _InvalidError("Details of a history record have 1 to 2500 characters")
            now = self.world.clock()
            made = {
                "Details": details,
                "Changes": "Note",
                "User": "Practice app",
                "DateUTC": _ms(now),
                "DateUTCString": now.strftime("%Y-%m-%dT%H:%M:%S"),
            }
            invoice.history.append(made)
            return _Deed(
                lambda: made,
                lambda: self.book.write(
                    "note_history",
                    id=str(uuid.uuid4()),
                    target={"invoice": invoice.number},
                    reference=details,
                    idempotency_key=_key_of(call),
                ),
                lambda: invoice.history.remove(made),
            )

        return self._carry_out(call, "HistoryRecords", act)

    def _carry_out(self, call: Call, name: str, act: Callable[[Record], _Deed]) -> Answer:
        """Carries out each element of the body: all or nothing, unless the caller asked for `summarizeErrors=false`."""
        summarize = _query(call).get("summarizeErrors", "true").lower() != "false"
        done: list[_Deed] = []
        shown: list[tuple[Record, _Deed | None, tuple[str, ...]]] = []
        for element in _elements(call, name):
            try:
                deed = act(element)
            except _InvalidError as wrong:
                shown.append((element, None, wrong.messages))
            else:
                done.append(deed)
                shown.append((element, deed, ()))
        failed = [(element, messages) for element, deed, messages in shown if deed is None]
        if failed and summarize:
            for deed in reversed(done):
                deed.undo()
            return _validation(failed)
        for deed in done:
            deed.commit()
        return self._ok({name: [_told(element, deed, messages) for element, deed, messages in shown]})

    # ------------------------------------------------------------ rules

    def _build(self, data: Record, *, is_note: bool, number: str) -> _Document:
        """A document from its request. Raises _InvalidError with everything that is wrong in its lines."""
        base = str(self.organisation["BaseCurrency"])
        currency = _text(data, "CurrencyCode", base)
        if not re.fullmatch(r"[A-Z]{3}", currency):
            raise _InvalidError(f"{currency} is no currency of this organisation")
        amounts = _text(data, "LineAmountTypes", "Exclusive")
        if amounts not in ("Exclusive", "Inclusive", "NoTax"):
            raise _InvalidError(f"LineAmountTypes {amounts} is not known")
        contact = self._contact(data.get("Contact"))
        day = _day(data["Date"]) if "Date" in data else self._today()
        items = data.get("LineItems")
        if not isinstance(items, list) or not items:
            raise _InvalidError("One or more line items must be specified")
        is_final = _text(data, "Status", "DRAFT") in ("AUTHORISED", "PAID")
        lines = [self._line(each, currency, amounts, is_note=is_note, is_final=is_final) for each in items]
        document = _Document(
            document_id=str(uuid.uuid4()),
            is_note=is_note,
            type=_text(data, "Type", ""),
            number=number,
            contact=contact,
            currency=currency,
            day=day,
            due_day=_day(data["DueDate"]) if "DueDate" in data else day,
            reference=_text(data, "Reference", ""),
            amounts=amounts,
            state="DRAFT",
            lines=lines,
            updated=self.world.clock(),
        )
        if document.total_minor < 0:
            raise _InvalidError("The total of the document is below zero")
        return document

    def _line(self, data: Any, currency: str, amounts: str, *, is_note: bool, is_final: bool) -> _Line:
        if not isinstance(data, dict):
            raise _InvalidError("A line item is an object")
        description = _text(data, "Description", "")
        account = data.get("AccountCode")
        if not description:
            raise _InvalidError("Description of a line item is missing")
        if account is not None and account not in self._accounts:
            raise _InvalidError(f"Account code '{account}' is not a valid code for this document")
        if is_final and account is None:
            raise _InvalidError("AccountCode of a line item is missing")
        if is_note and ("DiscountRate" in data or "DiscountAmount" in data):
            raise _InvalidError("Credit notes take no discounts on lines")
        tax_type = _text(data, "TaxType", self._accounts[account].tax_type if account else "NONE")
        if tax_type not in _TAX_PERCENT:
            raise _InvalidError(f"TaxType {tax_type} is not known")
        quantity, unit = _decimal(data, "Quantity", Decimal(1)), _decimal(data, "UnitAmount", Decimal(0))
        discount = _decimal(data, "DiscountRate", Decimal(0))
        line = _cents(quantity * unit * (100 - discount) / 100, currency)
        percent = Decimal(0) if amounts == "NoTax" else _TAX_PERCENT[tax_type]
        base = Decimal(line) * percent
        tax = _whole(base / (100 + percent) if amounts == "Inclusive" else base / 100)
        if "TaxAmount" in data and amounts != "NoTax":
            tax = _minor(data["TaxAmount"], currency, "TaxAmount", is_zero_fine=True)
        return _Line(
            line_id=str(uuid.uuid4()),
            description=description,
            quantity=quantity,
            unit=unit,
            account_code=account,
            tax_type=tax_type,
            item_code=data.get("ItemCode"),
            discount_percent=discount or None,
            line_minor=line,
            tax_minor=tax,
        )

    def _contact(self, data: Any, *, is_seed: bool = False) -> _Contact:
        """By id; else by name, which makes a contact that is not there yet, as the vendor does."""
        match data:
            case {"ContactID": str(contact_id)} if not is_seed:
                if contact_id.lower() not in self._contacts:
                    raise _InvalidError("The contact could not be found")
                return self._contacts[contact_id.lower()]
            case {"Name": str(name)} if name:
                for known in self._contacts.values():
                    if known.name == name:
                        return known
                contact = _Contact(str(data.get("ContactID", uuid.uuid4())).lower(), name)
                self._contacts[contact.contact_id] = contact
                return contact
            case _:
                raise _InvalidError("A contact must be specified")

    def _paying_account(self, data: Any, document: _Document) -> _Account:
        match data:
            case {"Code": str(code)}:
                account = self._accounts.get(code)
            case {"AccountID": str(account_id)}:
                account = next(
                    (each for each in self._accounts.values() if each.account_id == account_id.lower()), None
                )
            case _:
                raise _InvalidError("Account of the payment is missing")
        if account is None:
            raise _InvalidError("Account could not be found")
        if account.status != "ACTIVE":
            raise _InvalidError("Account is archived")
        if account.type != "BANK" and not account.takes_payments:
            raise _InvalidError("Account must be a bank account or have payments to it enabled")
        if account.currency not in (None, document.currency, self.organisation["BaseCurrency"]):
            raise _InvalidError("Account is in a currency that cannot pay this document")
        return account

    def _check_change(self, invoice: _Document, status: str) -> None:
        if status not in _CHANGES.get(invoice.status, ()):
            raise _InvalidError("Invoice not of valid status for modification")
        if status == "VOIDED" and invoice.is_touched:
            raise _InvalidError("Invoice with payments or credit notes allocated to it cannot be voided")
        self._check_open(invoice.day)

    def _check_open(self, day: date) -> None:
        """Raises where the books are closed for that day."""
        for lock in (self.lock_date, self.year_lock_date):
            if lock is not None and day <= lock:
                raise _InvalidError(f"The document date {day} is not after the lock date {lock}")

    def _check_open_or_refuse(self, day: date) -> None:
        try:
            self._check_open(day)
        except _InvalidError as wrong:
            raise RefusalError(_validation([({}, wrong.messages)])) from wrong

    def _next_note_number(self) -> str:
        taken = {each.number for each in self._notes.values()}
        return next(number for i in range(1, len(taken) + 2) if (number := f"CN-{i:04d}") not in taken)

    # ------------------------------------------------------------ finding

    def _find_invoice(self, key: str) -> _Document | None:
        """By id, or by number: the vendor takes both in the address."""
        return _by_id_or_number(self._invoices, key)

    def _find_note(self, key: str) -> _Document | None:
        if not self.habits.is_note_found_by_number:
            return self._notes.get(key.lower())
        return _by_id_or_number(self._notes, key)

    def _invoice(self, call: Call) -> _Document:
        if (found := self._find_invoice(unquote(call.ids["id"]))) is None:
            raise RefusalError(_absent())
        return found

    def _note(self, call: Call) -> _Document:
        if (found := self._find_note(unquote(call.ids["id"]))) is None:
            raise RefusalError(_absent())
        return found

    def _payment(self, call: Call) -> _Payment:
        if (found := self._payments.get(call.ids["id"].lower())) is None:
            raise RefusalError(_absent())
        return found

    def _target(
        self,
        data: Record,
        name: str,
        known: Mapping[str, _Document],
        find: Callable[[str], _Document | None],
    ) -> _Document:
        match data[name]:
            case {"InvoiceID": str(key)} | {"CreditNoteID": str(key)}:
                found = known.get(key.lower())
            case {"InvoiceNumber": str(key)} | {"CreditNoteNumber": str(key)}:
                found = find(key)
            case _:
                found = None
        if found is None:
            raise _InvalidError(f"{name} could not be found")
        return found

    def _is_since(self, call: Call, updated: datetime) -> bool:
        raw = call.headers.get("if-modified-since", "")
        if not raw:
            return True
        try:
            since = datetime.fromisoformat(raw)
        except ValueError:
            try:
                since = parsedate_to_datetime(raw)
            except ValueError:
                return True
        return updated > (since if since.tzinfo else since.replace(tzinfo=UTC))

    def _today(self) -> date:
        return self.world.clock().date()

    # ------------------------------------------------------------ effects

    def _add_payment(
        self, document: _Document, account: _Account, day: date, minor: int, reference: str
    ) -> _Payment:
        made = _Payment(str(uuid.uuid4()), document, account, day, minor, reference, self.world.clock())
        document.payments.append(made)
        self._payments[made.payment_id] = made
        return made

    def _enter(self, effect: str, document: _Document, key: str | None) -> None:
        self.book.write(
            effect,
            id=document.document_id,
            amount_minor=document.total_minor,
            currency=document.currency,
            target={"credit_note" if document.is_note else "invoice": document.number},
            reference=document.reference,
            idempotency_key=key,
            status=document.status,
        )
        self._tell(document, "CREATE" if effect.startswith("create") else "UPDATE")

    def _touch(self, *documents: _Document) -> None:
        for document in documents:
            document.updated = self.world.clock()
            self._tell(document, "UPDATE")

    # ------------------------------------------------------------ webhooks

    def event_for(self, topic: str, object_id: str) -> Event:
        """`INVOICE.UPDATE`, `CREDITNOTE.CREATE` and so on, about a document's id or number: the newest told, else a new one."""
        category, _, kind = topic.partition(".")
        found = {"INVOICE": self._find_invoice, "CREDITNOTE": self._find_note}.get(category, lambda _: None)(
            object_id
        )
        if found is None or kind not in ("CREATE", "UPDATE"):
            raise NoSuchObjectError(f"xero sends no {topic!r} about {object_id!r}")
        for event in reversed(self._events):
            if event.topic == topic and event.body["events"][0]["resourceId"] == found.document_id:
                return event
        return self._event(found, kind)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`x-xero-signature`: base64 of HMAC-SHA256 over the body, the signing key used as text."""
        digest = hmac.new(secret.encode(), event.payload, hashlib.sha256).digest()
        return Delivery(
            {"Content-Type": "application/json", "x-xero-signature": base64.b64encode(digest).decode()},
            event.payload,
        )

    def _tell(self, document: _Document, kind: str) -> None:
        self.emit(self._event(document, kind))

    def _event(self, document: _Document, kind: str) -> Event:
        category, path = ("CREDITNOTE", "CreditNotes") if document.is_note else ("INVOICE", "Invoices")
        number = len(self._events) + 1
        told: Record = {
            "resourceUrl": f"https://api.xero.com{_ROOT}/{path}/{document.document_id}",
            "resourceId": document.document_id,
            "tenantId": TENANT_ID,
            "tenantType": "ORGANISATION",
            "eventCategory": category,
            "eventType": kind,
            "eventDateUtc": self.world.clock().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        }
        if document.is_note:
            told["data"] = {"Type": document.type, "Status": document.status}
        body = {
            "events": [told],
            "firstEventSequence": number,
            "lastEventSequence": number,
            "entropy": self.mint(length=20).upper(),
        }
        self._events.append(Event(f"{TENANT_ID}:{number}", f"{category}.{kind}", body))
        return self._events[-1]

    # ------------------------------------------------------------ showing

    def _ok(self, body: Record) -> Answer:
        return Answer(
            200,
            {
                "Id": str(uuid.uuid4()),
                "Status": "OK",
                "ProviderName": "Practice app",
                "DateTimeUTC": _ms(self.world.clock(), has_zone=False),
                **body,
            },
        )

    def _show(self, document: _Document) -> Record:
        """The document with everything; what others show of it inside themselves is shorter."""
        currency = document.currency

        def number(minor: int) -> float:
            return _number(minor, currency)

        shown: Record = {
            "Type": document.type,
            "Reference": document.reference,
            "Contact": {"ContactID": document.contact.contact_id, "Name": document.contact.name},
            "Date": _ms(document.day),
            "DateString": f"{document.day}T00:00:00",
            "Status": document.status,
            "LineAmountTypes": document.amounts,
            "LineItems": [_show_line(line, currency) for line in document.lines],
            "SubTotal": number(document.total_minor - document.tax_minor),
            "TotalTax": number(document.tax_minor),
            "Total": number(document.total_minor),
            "UpdatedDateUTC": _ms(document.updated),
            "UpdatedDateUTCString": document.updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "CurrencyCode": currency,
            "CurrencyRate": 1.0,
            "HasAttachments": False,
            "HasErrors": False,
            "Payments": [
                self._show_payment_short(each) for each in document.payments if each.status == "AUTHORISED"
            ],
        }
        if document.is_note:
            return {
                "CreditNoteID": document.document_id,
                "CreditNoteNumber": document.number,
                "ID": document.document_id,
                **shown,
                "RemainingCredit": number(document.left_minor),
                "Allocations": [self._show_allocation(each) for each in document.allocations],
            }
        return {
            "InvoiceID": document.document_id,
            "InvoiceNumber": document.number,
            **shown,
            "DueDate": _ms(document.due_day),
            "DueDateString": f"{document.due_day}T00:00:00",
            "AmountDue": number(document.left_minor),
            "AmountPaid": number(document.paid_minor),
            "AmountCredited": number(document.allocated_minor),
            "SentToContact": False,
            "IsDiscounted": any(line.discount_percent for line in document.lines),
            "CreditNotes": [
                {
                    "CreditNoteID": each.note.document_id,
                    "CreditNoteNumber": each.note.number,
                    "ID": each.note.document_id,
                    "AppliedAmount": number(each.minor),
                    "Date": _ms(each.day),
                    "DateString": f"{each.day}T00:00:00",
                    "LineItems": [],
                    "Total": number(each.note.total_minor),
                }
                for each in document.allocations
            ],
            "Prepayments": [],
            "Overpayments": [],
        }

    def _show_payment_short(self, payment: _Payment) -> Record:
        return {
            "PaymentID": payment.payment_id,
            "Date": _ms(payment.day),
            "Amount": _number(payment.minor, payment.document.currency),
            "Reference": payment.reference,
            "CurrencyRate": 1.0,
            "HasAccount": False,
            "HasValidationErrors": False,
        }

    def _show_payment(self, payment: _Payment) -> Record:
        document = payment.document
        shown: Record = {
            **self._show_payment_short(payment),
            "BankAmount": _number(payment.minor, document.currency),
            "PaymentType": {
                "ACCREC": "ACCRECPAYMENT",
                "ACCPAY": "ACCPAYPAYMENT",
                "ACCRECCREDIT": "ARCREDITPAYMENT",
                "ACCPAYCREDIT": "APCREDITPAYMENT",
            }[document.type],
            "Status": payment.status,
            "UpdatedDateUTC": _ms(payment.updated),
            "UpdatedDateUTCString": payment.updated.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "HasAccount": True,
            "IsReconciled": False,
            "Account": {
                "AccountID": payment.account.account_id,
                "Code": payment.account.code,
                "Name": payment.account.name,
            },
        }
        whole = self._show(document)
        if document.is_note:
            names = ("CreditNoteID", "CreditNoteNumber", "ID", "RemainingCredit")
            part = "CreditNote"
        else:
            names = ("InvoiceID", "InvoiceNumber", "AmountDue", "AmountPaid")
            part = "Invoice"
        common = ("Type", "Status", "Contact", "CurrencyCode", "Total", "Reference", "HasErrors")
        shown[part] = {**{name: whole[name] for name in (*names, *common)}, "LineItems": []}
        return shown

    def _show_allocation(self, made: _Allocation) -> Record:
        return {
            "AllocationID": made.allocation_id,
            "Amount": _number(made.minor, made.note.currency),
            "Date": _ms(made.day),
            "Invoice": {
                "InvoiceID": made.invoice.document_id,
                "InvoiceNumber": made.invoice.number,
                "HasErrors": False,
                "LineItems": [],
            },
            "CreditNote": {
                "CreditNoteID": made.note.document_id,
                "CreditNoteNumber": made.note.number,
                "ID": made.note.document_id,
                "LineItems": [],
            },
            "IsDeleted": False,
        }

    def _show_account(self, account: _Account) -> Record:
        shown: Record = {
            "AccountID": account.account_id,
            "Code": account.code,
            "Name": account.name,
            "Type": account.type,
            "Status": account.status,
            "TaxType": account.tax_type,
            "EnablePaymentsToAccount": account.takes_payments,
            "ShowInExpenseClaims": False,
            "HasAttachments": False,
        }
        if account.type == "BANK":
            shown |= {
                "BankAccountType": "BANK",
                "CurrencyCode": account.currency or self.organisation["BaseCurrency"],
            }
        return shown


# ---------------------------------------------------------------- requests read


def _needed_scopes(path: str, method: str) -> tuple[str, ...]:
    resource = path.removeprefix(f"{_ROOT}/").partition("/")[0]
    if resource in ("Accounts", "Organisation"):
        return _SETTINGS
    needed = _PAYMENTS if resource == "Payments" else _INVOICES
    return (*needed, *(f"{each}.read" for each in needed)) if method == "GET" else needed


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def _fingerprint(call: Call) -> str:
    return hashlib.sha256(f"{call.method} {call.path}?{call.query}\n".encode() + call.body).hexdigest()


def _key_of(call: Call) -> str | None:
    return call.headers.get("idempotency-key")


def _query(call: Call) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(call.query, keep_blank_values=True).items()}


def _elements(call: Call, name: str) -> list[Record]:
    """The documents in a body: under their list's name, or one alone. Numbers come as Decimal."""
    body = _decimals(call.json) if call.content_type == "application/json" else None
    match body:
        case {**named} if name in named:
            elements = named[name]
        case dict():
            elements = [body]
        case _:
            elements = None
    if not isinstance(elements, list) or not all(isinstance(each, dict) for each in elements):
        raise RefusalError(_exception(400, 14, "PostDataInvalidException", "Invalid Json data"))
    if not elements:
        raise RefusalError(_exception(400, 17, "NoDataProcessedException", "No data has been processed"))
    return elements


def _decimals(value: Any) -> Any:
    """The same JSON with Decimals where it had floats; the shortest decimal that reads as that float is what was sent."""
    match value:
        case float():
            return Decimal(repr(value))
        case list():
            return [_decimals(each) for each in value]
        case dict():
            return {name: _decimals(each) for name, each in value.items()}
        case _:
            return value


def _text(data: Record, name: str, default: str) -> str:
    value = data.get(name, default)
    if not isinstance(value, str):
        raise _InvalidError(f"{name} is text")
    return value


def _decimal(data: Record, name: str, default: Decimal) -> Decimal:
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise _InvalidError(f"{name} is a number")
    try:
        number = Decimal(value)
    except ArithmeticError:
        raise _InvalidError(f"{name} is a number") from None
    if not number.is_finite():
        raise _InvalidError(f"{name} is a number")
    return number


def _minor(value: Any, currency: str, name: str, *, is_zero_fine: bool = False) -> int:
    """An amount in minor units. Raises where it is no amount, has too many decimals, or is not above zero."""
    number = _decimal({name: value}, name, Decimal(0))
    try:
        minor = Money.from_major(number, currency).minor
    except ValueError as wrong:
        raise _InvalidError(f"{name}: {wrong}") from wrong
    if minor < 0 or (minor == 0 and not is_zero_fine):
        raise _InvalidError(f"{name} must be greater than zero")
    return minor


def _day(value: Any) -> date:
    """A date in one of the vendor's two forms: `2026-11-02` (a time may follow) or `/Date(1793577600000+0000)/`."""
    if isinstance(value, str):
        if found := re.fullmatch(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/", value):
            return datetime.fromtimestamp(int(found[1]) // 1000, UTC).date()
        try:
            return datetime.fromisoformat(value).date()
        except ValueError:
            raise _InvalidError(f"{value!r} is no date") from None
    raise _InvalidError(f"{value!r} is no date")


# ---------------------------------------------------------------- filters


def _where(call: Call, name: str, shown: list[Record]) -> list[Record]:
    """Those that the `where` parameter lets through: comparisons joined by AND and OR (AND binds tighter), no brackets."""
    where = _query(call).get("where", "")
    if not where.strip():
        return shown
    groups = _read_where(where, _FILTERS[name])
    return [each for each in shown if any(all(_holds(each, part) for part in group) for group in groups)]


def _read_where(where: str, names: Sequence[str]) -> list[list[re.Match[str]]]:
    groups: list[list[re.Match[str]]] = [[]]
    at = 0
    while True:
        condition = _CONDITION.match(where, at)
        if condition is None or condition["path"].partition(".")[0] not in names:
            raise RefusalError(
                _exception(400, 16, "QueryParseException", f"The filter cannot be read at character {at + 1}")
            )
        groups[-1].append(condition)
        at = condition.end()
        if at == len(where):
            return groups
        joint = _JOINT.match(where, at)
        if joint is None:
            raise RefusalError(
                _exception(400, 16, "QueryParseException", f"The filter cannot be read at character {at + 1}")
            )
        if joint["or"]:
            groups.append([])
        at = joint.end()


def _holds(shown: Record, condition: re.Match[str]) -> bool:
    have: Any = shown
    for step in condition["path"].split("."):
        have = have.get(step) if isinstance(have, dict) else None
    want = _wanted(condition)
    if isinstance(want, Decimal):
        if isinstance(have, bool) or not isinstance(have, int | float):
            return condition["sign"] == "!="
        have = Decimal(repr(have))
    elif condition["guid"] is not None and isinstance(have, str):
        have = have.lower()
    match condition["sign"]:
        case "==" | "=":
            return bool(have == want)
        case "!=":
            return bool(have != want)
        case sign:
            return isinstance(want, Decimal) and bool(_ORDER[sign](have, want))


def _wanted(condition: re.Match[str]) -> Any:
    if condition["guid"] is not None:
        return condition["guid"].lower()
    if condition["text"] is not None:
        return re.sub(r"\\(.)", r"\1", condition["text"])
    if condition["word"] is not None:
        return {"null": None, "true": True, "false": False}[condition["word"]]
    return Decimal(condition["number"])


# ---------------------------------------------------------------- answers written


def _problem(status: int, title: str, detail: str) -> Answer:
    return Answer(
        status,
        {"Type": None, "Title": title, "Status": status, "Detail": detail, "Instance": str(uuid.uuid4())},
    )


def _is_problem(answer: Answer) -> bool:
    return isinstance(answer.body, dict) and "Title" in answer.body


def _exception(status: int, number: int, kind: str, message: str) -> Answer:
    return Answer(status, {"ErrorNumber": number, "Type": kind, "Message": message, "Elements": []})


def _validation(failed: Sequence[tuple[Record, tuple[str, ...]]]) -> Answer:
    elements = [
        {**_jsonable(element), "ValidationErrors": [{"Message": text} for text in messages]}
        for element, messages in failed
    ]
    return Answer(
        400,
        {
            "ErrorNumber": 10,
            "Type": "ValidationException",
            "Message": "A validation exception occurred",
            "Elements": elements,
        },
    )


def _absent() -> Answer:
    return Answer(
        404, "The resource you're looking for cannot be found", content_type="text/html; charset=utf-8"
    )


def _told(element: Record, deed: _Deed | None, messages: tuple[str, ...]) -> Record:
    if deed is not None:
        return {**deed.shown(), "StatusAttributeString": "OK"}
    return {
        **_jsonable(element),
        "HasErrors": True,
        "StatusAttributeString": "ERROR",
        "ValidationErrors": [{"Message": text} for text in messages],
    }


def _show_line(line: _Line, currency: str) -> Record:
    shown: Record = {
        "LineItemID": line.line_id,
        "Description": line.description,
        "Quantity": float(line.quantity),
        "UnitAmount": float(line.unit),
        "TaxType": line.tax_type,
        "TaxAmount": _number(line.tax_minor, currency),
        "LineAmount": _number(line.line_minor, currency),
        "Tracking": [],
    }
    if line.account_code is not None:
        shown["AccountCode"] = line.account_code
    if line.item_code is not None:
        shown["ItemCode"] = line.item_code
    if line.discount_percent is not None:
        shown["DiscountRate"] = float(line.discount_percent)
    return shown


def _number(minor: int, currency: str) -> float:
    """Minor units as the JSON number that the vendor writes. Only the wire sees it; the books here hold integers."""
    return float(Money(minor, currency).major)


def _cents(major: Decimal, currency: str) -> int:
    return _whole(major.scaleb(exponent_of(currency)))


def _whole(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def _ms(when: date | datetime, *, has_zone: bool = True) -> str:
    moment = when if isinstance(when, datetime) else datetime(when.year, when.month, when.day, tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return f"/Date({since // timedelta(milliseconds=1)}{'+0000' if has_zone else ''})/"


def _jsonable(element: Record) -> Record:
    """The element as it came, its Decimals as numbers again."""
    read: Record = json.loads(json.dumps(element, default=float))
    return read


def _become(document: _Document, other: _Document) -> None:
    """Turns a document into another in place, so that whatever points at it sees the change."""
    for each in fields(_Document):
        setattr(document, each.name, getattr(other, each.name))


def _drop(known: dict[str, Any], key: str) -> None:
    del known[key]


def _by_id_or_number(known: Mapping[str, _Document], key: str) -> _Document | None:
    if found := known.get(key.lower()):
        return found
    return next((each for each in known.values() if each.number == key), None)


def _xml(body: Record) -> bytes:
    """The same answer in the vendor's default form. A list becomes an element with its singular inside."""
    root = ElementTree.Element("ApiException" if "ErrorNumber" in body else "Response")
    for name, value in body.items():
        root.append(_xml_of(name, value))
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _xml_of(name: str, value: Any) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(value, Mapping):
        for inner, each in value.items():
            element.append(_xml_of(inner, each))
    elif isinstance(value, list):
        element.extend(_singulars(name, value))
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif value is not None:
        element.text = str(value)
    return element


def _singulars(name: str, values: list[Any]) -> Iterator[ElementTree.Element]:
    inner = name.removesuffix("s")
    return (_xml_of(inner, each) for each in values)
