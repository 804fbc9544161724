"""A practice QuickBooks Online (what "QuickBooks Commerce" is today): Accounting API v3, minor version 75.

Paths: `/oauth2/v1/tokens/bearer` (oauth.platform.intuit.com) and `/v3/company/{realmId}/…` (quickbooks.api.intuit.com) live
under one prefix. Shapes and rules: Intuit's XSD files and SDK sources (PHP SDK of 2026-07-17) and developer.intuit.com, as the
platform's sheet records them, read 2026-11-25. Where they are silent, `Settings` names the reading that is practised (the one
that costs more) and lets a rehearsal choose the other.

Strict about: `Accept` (XML without JSON in it), `minorversion`, token age and refresh tokens that rotate (a replaced one is an
`invalid_grant`, so of two refreshes at once one loses), `requestid`, `SyncToken`, required and known properties, lengths,
references, `Amount = Qty * UnitPrice`, closed periods, deposited sales, and the two forms of a void: `operation=void` for
invoices, `operation=update&include=void` with `sparse` for sales receipts and payments. Nothing ties a refund receipt to a
sale: any amount is booked. Automated sales tax adds tax to lines marked `TAX`, whatever the caller sent.

`seed` takes any of `{"settings": {…}, "company": {"name"}, "connection": {"refresh_token"?, "access_token"?, "realm_id"?},
"customers": [{"id"?, "name", "email"?, "currency"?, "is_active"?}], "accounts": [{"id"?, "name", "type"?, "is_active"?}],
"items": [{"id"?, "sku", "title"?, "stock"?, "is_active"?}], "payment_methods": [{"id"?, "name"}],
"sales_receipts" | "invoices" | "refund_receipts" | "credit_memos": [{"id"?, "number"?, "customer"? (id or name; "61"), "email"?,
"currency"?, "date"?, "created"?, "lines": [{"id"?, "sku", "title"?, "quantity"? (1), "unit_price_minor", "stock"?}],
"shipping_minor"?, "tax_minor"?, "note"?, "payments"?: [{"amount_minor", "transaction"?, "is_captured"?}], "is_deposited"?}]}`.
A captured payment of an invoice becomes a Payment; that of a sales receipt is part of it. A line with `stock` makes its
item an inventory item of which so many are on hand; without, nothing is counted. Returned are the same lists, with `payments`,
as the API shows them. Known from the start: customer 61, accounts 35 (clearing), 36 (bank) and 79 (income), item 10, payment
method 4. What is seeded happened before the rehearsal and is not in the book.

`settle` takes one of `{"sales_receipt": id or number, "is_deposited": bool}`, `{"invoice": id or number, "paid_minor": n,
"transaction"?}`, `{"document": id, "edited": {"PrivateNote"?: …}}` (a person saves it: the SyncToken moves on), `{"document": id, "deleted": true}` (a person deletes it),
`{"book_close_date": "2026-10-31" | None}`, `{"item": id or sku, "stock"?: n}` (returns the item, `QtyOnHand`),
`{"access_tokens": "expired"}` and `{"connection": "renewed" | "revoked"}` (renewed returns the new refresh token).

Book: `record_refund` (refund receipt), `credit_note` (credit memo), `void_invoice` (invoice or sales receipt), `void_payment`,
`restock` and `destock` (inventory items only), `update_document`, `delete_refund_receipt`, `delete_credit_memo`.
Everything here is carried out at once, so slow_pending and late_failure faults change nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import operator
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final, NoReturn
from xml.sax.saxutils import escape

from refundflow.domain.money import Money, exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Handler,
    Kind,
    NoSuchObjectError,
    Operation,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

CLIENT_ID: Final = "practice-quickbooks-client"
CLIENT_SECRET: Final = "practice-quickbooks-secret"  # noqa: S105 (a practice secret, known to everybody)
REALM_ID: Final = "4620816365000000000"
REFRESH_TOKEN: Final = "practice-quickbooks-refresh"  # noqa: S105 (a practice secret, known to everybody)
ACCESS_LIFE: Final = timedelta(hours=1)
REFRESH_IDLE_LIFE: Final = timedelta(days=100)
REFRESH_HARD_LIFE: Final = timedelta(days=5 * 365)
REQUESTID_LENGTH: Final = 50
NUMBER_LENGTH: Final = 21
NOTE_LENGTH: Final = 4000
ROWS: Final = 100
ROWS_MOST: Final = 1000
CHANGES_KEPT: Final = timedelta(days=30)

_TOKEN_PATH: Final = "/oauth2/v1/tokens/bearer"  # noqa: S105 (a path)
_BASE: Final = "/v3/company/{realm}"
_KINDS: Final[Mapping[str, str]] = {
    "RefundReceipt": "refund_receipt",
    "CreditMemo": "credit_memo",
    "SalesReceipt": "sales_receipt",
    "Invoice": "invoice",
    "Payment": "payment",
}
_LISTS: Final[Mapping[str, str]] = {
    "Customer": "customer",
    "Item": "item",
    "Account": "account",
    "PaymentMethod": "payment_method",
}
_BY_PATH: Final = {kind.lower(): kind for kind in _KINDS}
_WRITABLE: Final = ("RefundReceipt", "CreditMemo")
_SHIPPING_ITEM: Final = "SHIPPING_ITEM_ID"
_FUNDS: Final = ("Bank", "Other Current Asset")
_TAX_CODES: Final = ("TAX", "NON")
_LINE_TYPES: Final = ("SalesItemLineDetail", "DiscountLineDetail", "DescriptionOnly", "SubTotalLineDetail")
# Kept as sent, without a meaning here.
_CARRIED: Final = (
    *("CustomerMemo", "BillAddr", "ShipAddr", "ClassRef", "DepartmentRef", "BillEmail", "CustomField"),
    *("GlobalTaxCalculation", "ApplyTaxAfterDiscount", "PrintStatus", "EmailStatus", "DueDate"),
    "ExchangeRate",
)
_KNOWN: Final = (
    *("Id", "SyncToken", "sparse", "domain", "MetaData", "LinkedTxn", "TotalAmt", "Balance"),
    *("DocNumber", "TxnDate", "CurrencyRef", "CustomerRef", "PrivateNote", "Line", "TxnTaxDetail"),
    *_CARRIED,
)
_MONEY_FIELDS: Final = ("DepositToAccountRef", "PaymentMethodRef", "PaymentRefNum", "PaymentType")
_OWN: Final[Mapping[str, Sequence[str]]] = {
    "RefundReceipt": _MONEY_FIELDS,
    "SalesReceipt": _MONEY_FIELDS,
    "Payment": (*_MONEY_FIELDS, "UnappliedAmt"),
    "CreditMemo": ("RemainingCredit", "InvoiceRef"),
    "Invoice": (),
}
_DOCUMENT_FILTERS: Final = ("Id", "DocNumber", "TxnDate", "CustomerRef", "MetaData.LastUpdatedTime")
_FILTERS: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(_KINDS, _DOCUMENT_FILTERS),
    "Customer": ("Id", "DisplayName", "Active", "MetaData.LastUpdatedTime"),
    "Item": ("Id", "Name", "Sku", "Type", "Active", "MetaData.LastUpdatedTime"),
    "Account": ("Id", "Name", "AccountType", "Active", "MetaData.LastUpdatedTime"),
    "PaymentMethod": ("Id", "Name", "Active", "MetaData.LastUpdatedTime"),
    "CompanyInfo": ("Id",),
    "Preferences": ("Id",),
}
# Code → HTTP status, kind of fault, message. The codes 500, 2010, 2050, 2090, 3001, 3100, 4000, 4001 and 10000, and the statuses
# 403 of 5020 and 6190, are remembered, not found in a published description: let no reader depend on them.
_ERRORS: Final[Mapping[str, tuple[int, str, str]]] = {
    "120": (403, "AuthorizationFault", "Authorization failure"),
    "500": (400, "ValidationFault", "Unsupported operation"),
    "600": (400, "ValidationFault", "Duplicate request id"),
    "610": (400, "ValidationFault", "Object not found"),
    "2010": (400, "ValidationFault", "Invalid or unsupported property in the request"),
    "2020": (400, "ValidationFault", "Required parameter is missing"),
    "2050": (400, "ValidationFault", "A text is too long or too short"),
    "2090": (400, "ValidationFault", "Invalid number"),
    "2170": (400, "ValidationFault", "Invalid enumeration"),
    "2500": (400, "ValidationFault", "Invalid reference id"),
    "3001": (429, "SystemFault", "ThrottleExceeded"),
    "3100": (403, "AuthorizationFault", "ApplicationAuthorizationFailed"),
    "3200": (401, "AuthenticationFault", "AuthenticationFailed"),
    "4000": (400, "ValidationFault", "The query cannot be parsed"),
    "4001": (400, "ValidationFault", "The query is not valid"),
    "5010": (400, "ValidationFault", "Stale object"),
    "5020": (403, "ValidationFault", "Permission denied"),
    "6000": (400, "ValidationFault", "A business validation has failed"),
    "6070": (400, "ValidationFault", "Amount is not the quantity times the unit price"),
    "6140": (400, "ValidationFault", "Duplicate document number"),
    "6190": (403, "ValidationFault", "The company's subscription does not allow this"),
    "6210": (400, "ValidationFault", "The account period is closed"),
    "6540": (400, "ValidationFault", "A deposited transaction cannot be changed"),
    "10000": (500, "SystemFault", "An application error has happened"),
}


@dataclass(slots=True)
class Settings:
    """The company's preferences, and what the vendor does not promise in writing.

    `refresh_rotation`: a new refresh token with "every" refresh, or "daily". `refresh_grace_s`: how long a replaced one still
    works. `is_access_ended_by_refresh`: whether a refresh ends older access tokens. `is_hard_expiry_told`: whether the token
    answer names the five-year limit. `requestid_life_s`: how long a request id is remembered; `repeated_requestid`: "replay"
    gives the first answer whatever the second call asked for, "refuse" is error 600. `business_fault_status`: 400, or 200.
    `is_custom_numbering`: whether a DocNumber sent is taken (else it is silently replaced); `is_duplicate_number_refused`:
    error 6140. `is_credit_applied`: a credit memo goes to the customer's oldest open invoices at once.
    `is_paid_invoice_voidable`: else error 6000. `is_second_void_refused`: error 6000, else a 200 that changes nothing.
    `is_note_kept_on_void`: "Voided - …" in place of "Voided" alone. `is_refund_restocking`, `is_void_restocking`: whether
    inventory items go back on the shelf. `is_tax_automated`: `sales_tax_percent` on lines marked TAX, else the tax sent.
    `book_close_date`: the last closed day. `webhook_form`: "cloudevents" or "legacy". `filterable`: further fields by entity.
    """

    refresh_rotation: str = "every"
    refresh_grace_s: int = 0
    is_access_ended_by_refresh: bool = False
    is_hard_expiry_told: bool = False
    is_minorversion_required: bool = True
    requestid_life_s: int = 7200
    repeated_requestid: str = "replay"
    business_fault_status: int = 400
    is_custom_numbering: bool = True
    is_duplicate_number_refused: bool = False
    is_credit_applied: bool = True
    is_paid_invoice_voidable: bool = False
    is_second_void_refused: bool = True
    is_note_kept_on_void: bool = False
    is_refund_restocking: bool = True
    is_void_restocking: bool = True
    is_tax_automated: bool = True
    sales_tax_percent: str = "8.25"
    payment_ref_length: int = 21
    home_currency: str = "USD"
    is_multicurrency: bool = False
    book_close_date: str | None = None
    webhook_form: str = "cloudevents"
    filterable: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Line:
    """`minor` is never negative; a discount subtracts it."""

    line_id: str
    detail_type: str
    description: str | None
    minor: int
    item_id: str | None = None
    quantity: Decimal | None = None
    unit: Decimal | None = None
    tax_code: str = "NON"

    @property
    def units(self) -> int:
        return 1 if self.quantity is None else int(self.quantity)

    @property
    def signed_minor(self) -> int:
        match self.detail_type:
            case "SalesItemLineDetail":
                return self.minor
            case "DiscountLineDetail":
                return -self.minor
            case _:
                return 0


@dataclass(slots=True)
class _Document:
    """`fields`: what is shown as it was taken. A void keeps the lines here and shows them as nothing."""

    kind: str
    id: str
    number: str | None
    day: date
    currency: str
    customer_id: str | None
    lines: list[_Line]
    tax_minor: int
    fields: Record
    created: datetime
    updated: datetime
    sync_token: int = 0
    is_voided: bool = False
    is_deleted: bool = False
    deposit_id: str | None = None

    @property
    def net_minor(self) -> int:
        return sum(line.signed_minor for line in self.lines)

    @property
    def total_minor(self) -> int:
        return 0 if self.is_voided or self.is_deleted else self.net_minor + self.tax_minor

    @property
    def note(self) -> str | None:
        return self.fields.get("PrivateNote")


@dataclass(frozen=True, slots=True)
class _Link:
    """A part of a payment or credit memo, applied to an invoice."""

    source: str
    invoice: str
    minor: int


@dataclass(slots=True)
class _Kept:
    """A request id. `answer`: None while its first call is at work."""

    at: datetime
    answer: Answer | None = None


@dataclass(slots=True)
class _Connection:
    """What a person granted: the refresh token of the day and those it replaced."""

    refresh_token: str
    granted: datetime
    rotated: datetime
    used: datetime
    replaced: dict[str, datetime] = field(default_factory=dict)
    access: dict[str, datetime] = field(default_factory=dict)

    @property
    def expires(self) -> datetime:
        return min(self.used + REFRESH_IDLE_LIFE, self.granted + REFRESH_HARD_LIFE)


def fail(code: str, detail: str, element: str = "") -> NoReturn:
    """Ends the call with the vendor's Fault of that code."""
    raise RefusalError(_fault(code, detail, element))


class QuickBooksCommerce(Vendor):
    """One company's books; see the module's docstring."""

    name: ClassVar[str] = "quickbooks-commerce"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        routes = [
            Route("POST", _TOKEN_PATH, "token", self._token, is_open=True),
            Route("GET", f"{_BASE}/query", "query", self._query),
            Route("GET", f"{_BASE}/cdc", "list_changes", self._list_changes),
            Route("GET", f"{_BASE}/preferences", "get_preferences", self._get_preferences),
            Route("GET", f"{_BASE}/companyinfo/{{id}}", "get_company_info", self._get_company),
        ]
        for kind, name in _KINDS.items():
            path = f"{_BASE}/{kind.lower()}"
            routes.append(Route("GET", f"{path}/{{id}}", f"get_{name}", self._document_getter(kind)))
            routes.append(Route("POST", path, "write", self.not_found))
        for kind, name in _LISTS.items():
            path = f"{_BASE}/{kind.lower()}/{{id}}"
            routes.append(Route("GET", path, f"get_{name}", self._list_getter(kind)))
        self._routes = tuple(routes)

    def routes(self) -> Sequence[Route]:
        return self._routes

    def find(self, call: Call) -> Operation:
        """A POST means what its query says: create, update, delete or one of two forms of void, each with a name of its own."""
        found = super().find(call)
        if found.name != "write":
            return found
        kind = _BY_PATH[call.path.rsplit("/", 1)[1]]
        verb, handle = self._verb(kind, call)
        return Operation(f"{verb}_{_KINDS[kind]}", self._keyed(handle), {**found.ids, "kind": kind})

    def _verb(self, kind: str, call: Call) -> tuple[str, Handler]:
        query = dict(call.query_pairs)
        match query.get("operation"), query.get("include"):
            case "update", "void" if kind in ("SalesReceipt", "Payment"):
                return "void", self._void
            case "void", _ if kind == "Invoice":
                return "void", self._void
            case "delete", _ if kind in _WRITABLE:
                return "delete", self._delete
            case None | "update" as asked, _:
                # Where `include=void` does not belong it is no more than an unknown word: the sale stays as it was.
                body = call.json
                if asked is not None or (isinstance(body, dict) and "Id" in body):
                    return "update", self._update
                return "create", self._create
            case asked, _:
                return str(asked), self._unsupported

    # ------------------------------------------------------------ state

    def clear(self) -> None:
        now = self.world.clock()
        self.settings = Settings()
        self.realm_id = REALM_ID
        self.company_name = "Practice Shop"
        self._connection = _Connection(REFRESH_TOKEN, now, now, now)
        self.request_ids: dict[str, _Kept] = {}
        self._documents: dict[str, _Document] = {}
        self._links: list[_Link] = []
        self._lists: dict[str, dict[str, Record]] = {kind: {} for kind in _LISTS}
        self._events: list[tuple[str, Event]] = []
        # Each start has a range of its own, so that an id from before a reset is found by nobody.
        self._last_id = random.randrange(1_000, 900_000) * 1_000
        self._add("Customer", "61", DisplayName="Practice Customer", CurrencyRef=_ref("USD"))
        self._add("Account", "35", Name="Payment provider clearing", AccountType="Other Current Asset")
        self._add("Account", "36", Name="Checking", AccountType="Bank")
        self._add("Account", "79", Name="Sales of Product Income", AccountType="Income")
        self._add("Item", "10", Name="Returns", Sku="RETURNS", Type="NonInventory")
        self._add("Item", _SHIPPING_ITEM, Name="Shipping", Sku="SHIPPING", Type="Service")
        self._add("PaymentMethod", "4", Name="Payment provider")

    def _new_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)

    def _add(self, kind: str, id: str | None, **shown: Any) -> Record:
        made: Record = {
            "domain": "QBO",
            "sparse": False,
            "Id": id or self._new_id(),
            "SyncToken": "0",
            "MetaData": _meta(self.world.clock(), self.world.clock()),
            "Active": True,
            **shown,
        }
        self._lists[kind][made["Id"]] = made
        return made

    # ------------------------------------------------------------ at the door

    def serve(self, call: Call, operation: Operation) -> Answer:
        """Every answer has an `intuit_tid`; a fault has a time; who does not ask for JSON gets XML."""
        answer = super().serve(call, operation)
        headers = {"intuit_tid": f"1-{call.request_id}", **answer.headers}
        body, status = answer.body, answer.status
        if operation.name == "token" or not isinstance(body, dict):
            return replace(answer, headers=headers)
        if "Fault" in body:
            body = {**body, "time": self._time()}
            if status == 400:
                status = self.settings.business_fault_status
        if not _takes_json(call):
            return Answer(status, _xml(body), headers, "application/xml")
        return Answer(status, body, headers, answer.content_type)

    def authorise(self, call: Call) -> Answer | None:
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        expires = self._connection.access.get(value.strip()) if scheme.lower() == "bearer" else None
        if expires is None or expires <= self.world.clock():
            return self.unauthorised(call)
        if call.ids.get("realm", self.realm_id) != self.realm_id:
            return _fault("3100", "The application is not connected to this company")
        return None

    def unauthorised(self, call: Call) -> Answer:
        if call.operation == "token":
            return Answer(401, {"error": "invalid_client"})
        return _fault("3200", "Token expired or not valid")

    def refuse(self, call: Call) -> Answer:
        """The fault's `code` is the vendor's (6210, 5020, …); by itself what this operation is most often refused for."""
        code = call.fault.code if call.fault is not None else ""
        if call.operation == "token":
            return Answer(400, {"error": code or "invalid_grant"})
        usual = {"void_sales_receipt": "6540", "query": "4001"}.get(
            call.operation, "610" if call.method == "GET" else "6000"
        )
        return _fault(code or usual, "Refused by a practice fault")

    def not_found(self, call: Call) -> Answer:
        return replace(_fault("500", f"There is no {call.method} {call.path}"), status=404)

    def failure(self, call: Call, status: int) -> Any:
        if call.operation == "token":
            return {"error": "server_error" if status >= 500 else "invalid_request"}
        code = {401: "3200", 403: "120", 429: "3001"}.get(status, "10000" if status >= 500 else "6000")
        return _fault(code, f"A practice fault, status {status}").body

    def begin(self, call: Call) -> Answer | None:
        if not call.path.startswith("/v3/") or call.operation == "unknown":
            return None
        query = dict(call.query_pairs)
        version = query.get("minorversion")
        if version is None and self.settings.is_minorversion_required:
            fail("2020", "minorversion is required", "minorversion")
        if version is not None and not version.isdecimal():
            fail("2090", "minorversion is a number", "minorversion")
        if call.method != "POST":
            return None
        if call.content_type != "application/json":
            raise RefusalError(replace(_fault("2010", "The body is application/json"), status=415))
        key = query.get("requestid")
        if key is None:
            return None
        if not 0 < len(key) <= REQUESTID_LENGTH:
            fail("2050", f"requestid has 1 to {REQUESTID_LENGTH} characters", "requestid")
        now = self.world.clock()
        life = timedelta(seconds=self.settings.requestid_life_s)
        self.request_ids = {
            name: each
            for name, each in self.request_ids.items()
            if each.answer is None or now - each.at < life
        }
        kept = self.request_ids.get(key)
        if kept is None:
            self.request_ids[key] = _Kept(now)
            return None
        if kept.answer is None or self.settings.repeated_requestid == "refuse":
            fail("600", f"requestid {key} was used already", "requestid")
        if any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.REFUSE_AUTH)):
            # What stands in front of the API answers before it can look into its memory.
            return None
        return kept.answer

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Frees a request id whose call did nothing."""
        key = _request_id(call)
        if key in self.request_ids and self.request_ids[key].answer is None:
            del self.request_ids[key]
        return answer

    def _keyed(self, handle: Handler) -> Handler:
        """The handler, with its answer kept at the moment of the act: a lost reply does not lose it. Refusals are not kept."""

        def act(call: Call) -> Answer:
            kept = self.request_ids.get(_request_id(call))
            if kept is None:
                return handle(call)
            if kept.answer is None:
                kept.answer = handle(call)
            return kept.answer

        return act

    def _token(self, call: Call) -> Answer:
        if call.content_type != "application/x-www-form-urlencoded":
            return Answer(400, {"error": "invalid_request"})
        if not _is_client(call.headers.get("authorization", "")):
            return self.unauthorised(call)
        form = dict(call.form_pairs)
        if form.get("grant_type") != "refresh_token":
            return Answer(400, {"error": "unsupported_grant_type"})
        if not (token := form.get("refresh_token")):
            return Answer(400, {"error": "invalid_request"})
        now, held = self.world.clock(), self._connection
        grace = timedelta(seconds=self.settings.refresh_grace_s)
        is_current = token == held.refresh_token
        is_graced = token in held.replaced and now - held.replaced[token] < grace
        if now >= held.expires or not (is_current or is_graced):
            why = "The refresh token is not valid, was replaced or has expired"
            return Answer(400, {"error": "invalid_grant", "error_description": why})
        is_due = self.settings.refresh_rotation != "daily" or now - held.rotated >= timedelta(days=1)
        if is_current and is_due:
            held.replaced[token] = held.rotated = now
            held.refresh_token = self.mint("practice-refresh-", 40)
        held.used = now
        if self.settings.is_access_ended_by_refresh:
            held.access.clear()
        access = self.mint("practice-access-", 64)
        held.access[access] = now + ACCESS_LIFE
        answer: Record = {
            "token_type": "bearer",
            "access_token": access,
            "expires_in": int(ACCESS_LIFE.total_seconds()),
            "refresh_token": held.refresh_token,
            "x_refresh_token_expires_in": int((held.expires - now).total_seconds()),
        }
        if self.settings.is_hard_expiry_told:
            answer["x_refresh_token_hard_expires_in"] = int(
                (held.granted + REFRESH_HARD_LIFE - now).total_seconds()
            )
        return Answer(200, answer)

    # ------------------------------------------------------------ reading

    def _document_getter(self, kind: str) -> Handler:
        return lambda call: self._ok(kind, self._show(self._document(kind, call.ids["id"])))

    def _list_getter(self, kind: str) -> Handler:
        def get(call: Call) -> Answer:
            if (found := self._lists[kind].get(call.ids["id"])) is None:
                fail("610", f"There is no {kind} {call.ids['id']}")
            return self._ok(kind, found)

        return get

    def _get_preferences(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        return self._ok("Preferences", self._preferences())

    def _get_company(self, call: Call) -> Answer:
        if call.ids["id"] != self.realm_id:
            fail("610", f"There is no CompanyInfo {call.ids['id']}")
        return self._ok("CompanyInfo", self._company())

    def _preferences(self) -> Record:
        kept = self.settings
        accounting: Record = {"UseAccountNumbers": False}
        if kept.book_close_date is not None:
            accounting["BookCloseDate"] = kept.book_close_date
        return {
            "domain": "QBO",
            "sparse": False,
            "Id": "1",
            "SyncToken": "0",
            "AccountingInfoPrefs": accounting,
            "SalesFormsPrefs": {
                "CustomTxnNumbers": kept.is_custom_numbering,
                "AutoApplyCredit": kept.is_credit_applied,
            },
            "TaxPrefs": {"UsingSalesTax": True, "PartnerTaxEnabled": kept.is_tax_automated},
            "CurrencyPrefs": {
                "MultiCurrencyEnabled": kept.is_multicurrency,
                "HomeCurrency": {"value": kept.home_currency},
            },
            "OtherPrefs": {"NameValue": []},
        }

    def _company(self) -> Record:
        return {
            "domain": "QBO",
            "sparse": False,
            "Id": "1",
            "SyncToken": "0",
            "CompanyName": self.company_name,
            "LegalName": self.company_name,
            "Country": "US",
            "FiscalYearStartMonth": "January",
        }

    def _query(self, call: Call) -> Answer:
        text = dict(call.query_pairs).get("query", "")
        if not text.strip():
            fail("2020", "query is required", "query")
        query = read_query(text)
        if query.entity not in _FILTERS:
            fail("4001", f"There is no entity {query.entity}")
        allowed = (*_FILTERS[query.entity], *self.settings.filterable.get(query.entity, ()))
        for name in (*(each.field for each in query.conditions), *(name for name, _ in query.order)):
            if name not in allowed:
                fail("4001", f"Property {name} of {query.entity} is not queryable", name)
        found = [
            row
            for row in self._rows(query)
            if all(_fits(each, _at(row, each.field)) for each in query.conditions)
        ]
        for name, is_descending in reversed(query.order):
            found.sort(key=lambda row: _sort_key(name, _at(row, name)), reverse=is_descending)
        if query.is_count:
            return self._ok("QueryResponse", {"totalCount": len(found)})
        page = found[query.start - 1 : query.start - 1 + query.most]
        if query.fields:
            page = [_chosen(row, query.fields) for row in page]
        # Where nothing is found the entity's key is absent, not empty.
        shown = {query.entity: page, "startPosition": query.start, "maxResults": len(page)} if page else {}
        return self._ok("QueryResponse", shown)

    def _rows(self, query: Query) -> list[Record]:
        match query.entity:
            case "CompanyInfo":
                return [self._company()]
            case "Preferences":
                return [self._preferences()]
            case kind if kind in _KINDS:
                return [
                    self._show(each)
                    for each in self._documents.values()
                    if each.kind == kind and not each.is_deleted
                ]
            case kind:
                rows = list(self._lists[kind].values())
                if any(each.field == "Active" for each in query.conditions):
                    return rows
                return [row for row in rows if row["Active"]]

    def _list_changes(self, call: Call) -> Answer:
        query = dict(call.query_pairs)
        for name in ("entities", "changedSince"):
            if not query.get(name):
                fail("2020", f"{name} is required", name)
        since = _moment(query["changedSince"], "changedSince")
        if self.world.clock() - since > CHANGES_KEPT:
            fail("2010", "changedSince is at most 30 days ago", "changedSince")
        answers: list[Record] = []
        for kind in query["entities"].split(","):
            if kind not in _KINDS:
                fail("2010", f"There is no entity {kind}", "entities")
            found = [each for each in self._documents.values() if each.kind == kind and each.updated >= since]
            shown = [self._gone(each) if each.is_deleted else self._show(each) for each in found]
            answers.append(
                {kind: shown, "startPosition": 1, "maxResults": len(shown), "totalCount": len(shown)}
                if shown
                else {}
            )
        return Answer(200, {"CDCResponse": [{"QueryResponse": answers}], "time": self._time()})

    # ------------------------------------------------------------ writing

    def _unsupported(self, call: Call) -> Answer:
        fail("500", f"Operation {dict(call.query_pairs).get('operation')} is not supported")

    def _create(self, call: Call) -> Answer:
        kind = call.ids["kind"]
        if kind not in _WRITABLE:
            fail("500", f"The practice company makes a {kind} by seed only")
        document = self._build(kind, self._body(call, kind), None)
        self._check_period(document.day)
        self._documents[document.id] = document
        customer = document.customer_id
        target: Record = {"customer": customer, "number": document.number}
        if kind == "RefundReceipt":
            target |= {
                "account": document.fields["DepositToAccountRef"]["value"],
                "payment": document.fields.get("PaymentRefNum"),
            }
        self._enter("record_refund" if kind == "RefundReceipt" else "credit_note", document, target, call)
        self._move_stock({}, document)
        touched = self._apply_credit(document) if kind == "CreditMemo" else []
        self._tell(document, "created")
        for invoice in touched:
            self._tell(invoice, "updated")
        return self._ok(kind, self._show(document))

    def _update(self, call: Call) -> Answer:
        """Sparse: what is not sent stays, yet a sent `Line` replaces all lines. Not sparse: what is not sent is gone."""
        kind = call.ids["kind"]
        body = self._body(call, kind)
        document = self._held(kind, body)
        if kind == "Payment" and "Line" in body:
            fail("500", "The practice company does not re-apply payments")
        if document.is_voided and "Line" in body:
            fail("6000", "A voided transaction gets no new lines")
        self._check_touchable(document)
        changed = self._build(kind, body, document)
        self._check_period(changed.day)
        was = self._units_back(document)
        if kind == "Invoice" and changed.total_minor < sum(each.minor for each in self._links_of(document)):
            fail("6000", "The invoice is less than what is applied to it")
        for name in ("number", "day", "currency", "customer_id", "lines", "tax_minor", "fields"):
            setattr(document, name, getattr(changed, name))
        self._touch(document)
        self._enter("update_document", document, {"kind": kind, "number": document.number}, call)
        self._move_stock(was, document)
        self._tell(document, "updated")
        return self._ok(kind, self._show(document))

    def _void(self, call: Call) -> Answer:
        kind = call.ids["kind"]
        body = self._body(call, kind)
        document = self._held(kind, body)
        if kind != "Invoice" and body.get("sparse") is not True:
            fail("2020", "A void by update is sparse", "sparse")
        if document.is_voided:
            if self.settings.is_second_void_refused:
                fail("6000", "The transaction is void already")
            return self._ok(kind, self._show(document))
        self._check_touchable(document)
        links = self._links_of(document)
        if kind == "Invoice" and links and not self.settings.is_paid_invoice_voidable:
            fail("6000", "A payment or credit is applied to the invoice")
        was, amount = self._units_back(document), document.total_minor
        others = [
            self._documents[each.invoice if each.source == document.id else each.source] for each in links
        ]
        self._links = [each for each in self._links if each not in links]
        reference = document.note
        kept = f" - {document.note}" if self.settings.is_note_kept_on_void and document.note else ""
        document.fields = {**document.fields, "PrivateNote": f"Voided{kept}"}
        document.is_voided = True
        self._touch(document)
        self.book.write(
            "void_payment" if kind == "Payment" else "void_invoice",
            id=document.id,
            amount_minor=amount,
            currency=document.currency,
            target={_KINDS[kind]: document.id, "number": document.number},
            reference=reference,
            idempotency_key=_request_id(call) or None,
        )
        self._move_stock(was, document)
        self._tell(document, "voided")
        for other in others:
            self._touch(other)
            self._tell(other, "updated")
        return self._ok(kind, self._show(document))

    def _delete(self, call: Call) -> Answer:
        kind = call.ids["kind"]
        document = self._held(kind, self._body(call, kind))
        self._check_touchable(document)
        if self._links_of(document):
            fail("6000", "The transaction is applied to another")
        was = self._units_back(document)
        target = {_KINDS[kind]: document.id, "number": document.number}
        self._enter(f"delete_{_KINDS[kind]}", document, target, call)
        document.is_deleted = True
        self._touch(document)
        self._move_stock(was, document)
        self._tell(document, "deleted")
        return self._ok(kind, {"status": "Deleted", "domain": "QBO", "Id": document.id})

    def _body(self, call: Call, kind: str) -> Record:
        try:
            body = json.loads(call.body, parse_float=Decimal)
        except ValueError:
            fail("2010", "The body is not JSON")
        if not isinstance(body, dict):
            fail("2010", "The body is one object")
        if strange := sorted(set(body) - set(_KNOWN) - set(_OWN[kind])):
            fail("2010", f"Property name: {strange[0]} is not supported by {kind}", strange[0])
        return body

    def _held(self, kind: str, body: Record) -> _Document:
        """The document that the body names, if the caller has seen its newest version."""
        for name in ("Id", "SyncToken"):
            if name not in body:
                fail("2020", f"{name} is required", name)
            if not isinstance(body[name], str):
                fail("2010", f"{name} is a text", name)
        document = self._document(kind, body["Id"])
        if body["SyncToken"] != str(document.sync_token):
            fail("5010", "Somebody else has changed it since you read it: read it again", "SyncToken")
        return document

    def _document(self, kind: str, id: str) -> _Document:
        document = self._documents.get(id)
        if document is None or document.kind != kind or document.is_deleted:
            fail("610", f"There is no {kind} {id}, or it was made inactive")
        return document

    def _check_period(self, day: date) -> None:
        closed = self.settings.book_close_date
        if closed is not None and day <= date.fromisoformat(closed):
            fail("6210", f"The books are closed up to {closed}", "TxnDate")

    def _check_touchable(self, document: _Document) -> None:
        self._check_period(document.day)
        if document.deposit_id is not None:
            fail("6540", f"The transaction is part of deposit {document.deposit_id}")

    # ------------------------------------------------------------ a document out of a body

    def _build(self, kind: str, body: Record, old: _Document | None) -> _Document:
        """A new document, or the changed copy of an old one. Nothing is stored; every refusal comes from here."""
        is_sparse = old is not None and body.get("sparse") is True
        base = old.fields if old is not None and is_sparse else {}
        now = self.world.clock()
        kept: Record = dict(base)
        customer = self._reference(body, "CustomerRef", "Customer") or base.get("CustomerRef")
        if customer is None and kind != "RefundReceipt":
            fail("2020", "CustomerRef is required", "CustomerRef")
        if customer is not None:
            kept["CustomerRef"] = customer
        for name, list_kind in (("DepositToAccountRef", "Account"), ("PaymentMethodRef", "PaymentMethod")):
            if (found := self._reference(body, name, list_kind)) is not None:
                kept[name] = found
        if kind == "RefundReceipt":
            self._check_account(kept.get("DepositToAccountRef"))
        for name, most in (
            ("PrivateNote", NOTE_LENGTH),
            ("PaymentRefNum", self.settings.payment_ref_length),
            ("PaymentType", 20),
        ):
            if (text := _text(body, name, most)) is not None:
                kept[name] = text
        kept |= {name: _plain(body[name]) for name in (*_CARRIED, "InvoiceRef") if name in body}
        if isinstance(named := body.get("InvoiceRef", {}), dict) and (of := named.get("value")) is not None:
            found_invoice = self._documents.get(of)
            if found_invoice is None or found_invoice.kind != "Invoice":
                fail("2500", f"InvoiceRef: there is no Invoice {of}", "InvoiceRef")
        currency = self._currency(body, customer, old)
        lines = (
            old.lines
            if old is not None and ((is_sparse and "Line" not in body) or kind == "Payment")
            else self._lines(body, currency)
        )
        tax = self._tax(body, lines, currency, old if is_sparse and "Line" not in body else None)
        if sum(line.signed_minor for line in lines) < 0:
            fail("6000", "The total of a transaction is not negative", "Line")
        day = _day(body["TxnDate"]) if "TxnDate" in body else old.day if old and is_sparse else now.date()
        number = _text(body, "DocNumber", NUMBER_LENGTH) or (old.number if old and is_sparse else None)
        if not self.settings.is_custom_numbering:
            number = old.number if old is not None else self._next_number()
        id = old.id if old is not None else self._new_id()
        self._check_number(kind, number, id)
        return _Document(
            *(kind, id, number, day, currency, customer["value"] if customer else None, lines, tax, kept),
            created=old.created if old is not None else now,
            updated=now,
            is_voided=old is not None and old.is_voided,
        )

    def _reference(self, body: Record, name: str, kind: str) -> Record | None:
        if (value := body.get(name)) is None:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("value"), str):
            fail("2010", f"{name} is an object with a text value", name)
        found = self._lists[kind].get(value["value"])
        if found is None:
            fail("2500", f"{name}: there is no {kind} {value['value']}", name)
        if not found["Active"]:
            fail("610", f"{name}: {kind} {value['value']} was made inactive", name)
        return _ref(found["Id"], found.get("DisplayName") or found["Name"])

    def _check_account(self, reference: Record | None) -> None:
        if reference is None:
            fail(
                "2020",
                "DepositToAccountRef is required: the account that the money left",
                "DepositToAccountRef",
            )
        account = self._lists["Account"][reference["value"]]
        if account["AccountType"] not in _FUNDS:
            fail(
                "6000",
                f"Money cannot leave an account of type {account['AccountType']}",
                "DepositToAccountRef",
            )

    def _currency(self, body: Record, customer: Record | None, old: _Document | None) -> str:
        """The customer's currency; where only the home currency is in use every other one is refused."""
        home = self.settings.home_currency
        if old is not None:
            own = old.currency
        elif customer is not None and self.settings.is_multicurrency:
            own = self._lists["Customer"][customer["value"]].get("CurrencyRef", {}).get("value", home)
        else:
            own = home
        if "CurrencyRef" not in body:
            return str(own)
        sent = body["CurrencyRef"]
        if not isinstance(sent, dict) or not isinstance(sent.get("value"), str):
            fail("2010", "CurrencyRef is an object with a text value", "CurrencyRef")
        if sent["value"] != own:
            fail("6000", f"The transaction is in {own}, not in {sent['value']}", "CurrencyRef")
        return str(own)

    def _lines(self, body: Record, currency: str) -> list[_Line]:
        sent = body.get("Line")
        if not sent:
            fail("2020", "At least one Line is required", "Line")
        if not isinstance(sent, list) or not all(isinstance(each, dict) for each in sent):
            fail("2010", "Line is a list of objects", "Line")
        lines = [self._line(each, str(number), currency) for number, each in enumerate(sent, 1)]
        return [line for line in lines if line.detail_type != "SubTotalLineDetail"]

    def _line(self, sent: Record, line_id: str, currency: str) -> _Line:
        kind = sent.get("DetailType")
        if kind is None:
            fail("2020", "DetailType is required", "Line.DetailType")
        if kind not in _LINE_TYPES:
            fail("2170", f"DetailType {kind} is not one of {', '.join(_LINE_TYPES)}", "Line.DetailType")
        description = _text(sent, "Description", NOTE_LENGTH)
        if kind == "DescriptionOnly":
            return _Line(line_id, kind, description, 0)
        if "Amount" not in sent:
            fail("2020", "Amount is required", "Line.Amount")
        amount = _decimal(sent["Amount"], "Line.Amount")
        minor = _minor(amount, currency, "Line.Amount")
        if minor < 0:
            fail("6000", "Amounts are positive, also where money goes back", "Line.Amount")
        if kind != "SalesItemLineDetail":
            return _Line(line_id, kind, description, minor)
        detail = sent.get("SalesItemLineDetail")
        if not isinstance(detail, dict):
            fail("2020", "SalesItemLineDetail is required", "Line.SalesItemLineDetail")
        item = self._reference(detail, "ItemRef", "Item")
        if item is None:
            fail("2020", "ItemRef is required", "Line.SalesItemLineDetail.ItemRef")
        quantity, unit = (
            _decimal(detail[name], f"Line.{name}") if name in detail else None
            for name in ("Qty", "UnitPrice")
        )
        count = Decimal(1) if quantity is None else quantity
        if count < 0:
            fail("6000", "Quantities are positive, also where goods come back", "Line.Qty")
        if unit is not None and _rounded(count * unit, currency) != minor:
            fail("6070", f"Amount {amount} is not {count} * {unit}", "Line.Amount")
        if self._lists["Item"][item["value"]]["Type"] == "Inventory" and count % 1:
            fail("6000", "The practice company counts stock in whole units", "Line.Qty")
        code = detail.get("TaxCodeRef", {"value": "NON"})
        if not isinstance(code, dict) or code.get("value") not in _TAX_CODES:
            fail("2500", f"There is no tax code {code}", "Line.TaxCodeRef")
        return _Line(line_id, kind, description, minor, item["value"], quantity, unit, code["value"])

    def _tax(self, body: Record, lines: list[_Line], currency: str, old: _Document | None) -> int:
        """With automated sales tax the vendor reckons; else the caller's word counts."""
        if old is not None:
            return old.tax_minor
        if self.settings.is_tax_automated:
            taxed = sum(line.minor for line in lines if line.tax_code == "TAX")
            percent = Decimal(self.settings.sales_tax_percent)
            return int((taxed * percent / 100).quantize(Decimal(1), ROUND_HALF_UP))
        detail = body.get("TxnTaxDetail", {})
        if not isinstance(detail, dict):
            fail("2010", "TxnTaxDetail is an object", "TxnTaxDetail")
        name = "TxnTaxDetail.TotalTax"
        return _minor(_decimal(detail.get("TotalTax", 0), name), currency, name)

    def _check_number(self, kind: str, number: str | None, id: str) -> None:
        """A voided document keeps its number; a deleted one does not."""
        if number is None or not self.settings.is_duplicate_number_refused:
            return
        for each in self._documents.values():
            if each.kind == kind and each.number == number and each.id != id and not each.is_deleted:
                fail("6140", f"DocNumber={number} is assigned to TxnType={kind} with TxnId={each.id}")

    def _next_number(self) -> str:
        numbers = [each.number for each in self._documents.values() if each.number is not None]
        return str(max((int(each) for each in numbers if each.isdecimal()), default=1000) + 1)

    # ------------------------------------------------------------ what follows from a document

    def _links_of(self, document: _Document) -> list[_Link]:
        return [each for each in self._links if document.id in (each.source, each.invoice)]

    def _left_minor(self, document: _Document) -> int:
        """An invoice's balance; what is not applied yet of a payment or credit memo."""
        return document.total_minor - sum(each.minor for each in self._links_of(document))

    def _apply_credit(self, memo: _Document) -> list[_Document]:
        """To the oldest open invoices first, whichever the credit was meant for; returns those."""
        if not self.settings.is_credit_applied:
            return []
        touched = []
        for invoice in sorted(self._documents.values(), key=lambda each: each.day):
            fits = (invoice.kind, invoice.customer_id, invoice.currency)
            take = min(self._left_minor(memo), self._left_minor(invoice))
            if fits != ("Invoice", memo.customer_id, memo.currency) or take <= 0:
                continue
            self._links.append(_Link(memo.id, invoice.id, take))
            self._touch(invoice)
            touched.append(invoice)
        return touched

    def _touch(self, document: _Document) -> None:
        document.sync_token += 1
        document.updated = self.world.clock()

    def _units_back(self, document: _Document) -> dict[tuple[str, str], int]:
        """Units of inventory by line and item that the document has put on the shelf; a sale took them off it."""
        is_sale = document.kind in ("SalesReceipt", "Invoice")
        is_counted = (
            self.settings.is_void_restocking if is_sale else self.settings.is_refund_restocking
        ) and not (document.is_voided or document.is_deleted)
        if not is_counted:
            return {}
        return {
            (line.line_id, line.item_id): line.units * (-1 if is_sale else 1)
            for line in document.lines
            if line.item_id is not None and self._lists["Item"][line.item_id]["Type"] == "Inventory"
        }

    def _move_stock(self, was: Mapping[tuple[str, str], int], document: _Document) -> None:
        now = self._units_back(document)
        for line_id, item_id in {**was, **now}:
            units = now.get((line_id, item_id), 0) - was.get((line_id, item_id), 0)
            if units == 0:
                continue
            item = self._lists["Item"][item_id]
            item["QtyOnHand"] += units
            self.book.write(
                "restock" if units > 0 else "destock",
                id=line_id,
                target={"order": document.number, _KINDS[document.kind]: document.id},
                reference=document.note,
                sku=item["Sku"],
                quantity=abs(units),
            )

    def _enter(self, effect: str, document: _Document, target: Record, call: Call) -> None:
        self.book.write(
            effect,
            id=document.id,
            amount_minor=document.total_minor,
            currency=document.currency,
            target=target,
            reference=document.note,
            idempotency_key=_request_id(call) or None,
        )

    # ------------------------------------------------------------ how things look

    def _time(self) -> str:
        return self.world.clock().isoformat(timespec="milliseconds")

    def _ok(self, name: str, shown: Record) -> Answer:
        return Answer(200, {name: shown, "time": self._time()})

    def _gone(self, document: _Document) -> Record:
        meta = _meta(document.created, document.updated)
        return {"domain": "QBO", "status": "Deleted", "Id": document.id, "MetaData": meta}

    def _show(self, document: _Document) -> Record:
        def number(minor: int) -> float:
            return _number(minor, document.currency)

        left = number(self._left_minor(document))
        shown: Record = {
            "domain": "QBO",
            "sparse": False,
            "Id": document.id,
            "SyncToken": str(document.sync_token),
            "MetaData": _meta(document.created, document.updated),
            "TxnDate": document.day.isoformat(),
            "CurrencyRef": _ref(document.currency),
            "LinkedTxn": self._show_links(document),
            "TotalAmt": number(document.total_minor),
            **document.fields,
        }
        if document.number is not None:
            shown["DocNumber"] = document.number
        if document.kind == "Payment":
            shown["UnappliedAmt"] = left
            shown["Line"] = [
                {"Amount": number(each.minor), "LinkedTxn": [{"TxnId": each.invoice, "TxnType": "Invoice"}]}
                for each in self._links_of(document)
            ]
            return shown
        shown["Line"] = [self._show_line(line, document) for line in document.lines]
        subtotal = 0 if document.is_voided else document.net_minor
        shown["Line"].append(
            {"Amount": number(subtotal), "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}
        )
        shown["TxnTaxDetail"] = {"TotalTax": number(0 if document.is_voided else document.tax_minor)}
        match document.kind:
            case "Invoice":
                shown["Balance"] = left
            case "CreditMemo":
                shown |= {"Balance": left, "RemainingCredit": left}
            case _:
                shown["Balance"] = 0.0
        return shown

    def _show_links(self, document: _Document) -> list[Record]:
        shown = []
        for link in self._links_of(document):
            other = self._documents[link.invoice if link.source == document.id else link.source]
            shown.append({"TxnId": other.id, "TxnType": other.kind})
        if document.deposit_id is not None:
            shown.append({"TxnId": document.deposit_id, "TxnType": "Deposit"})
        return shown

    def _show_line(self, line: _Line, document: _Document) -> Record:
        is_void = document.is_voided
        shown: Record = {
            "Id": line.line_id,
            "LineNum": int(line.line_id) if line.line_id.isdecimal() else 1,
            "Amount": 0.0 if is_void else _number(line.minor, document.currency),
            "DetailType": line.detail_type,
        }
        if line.description is not None:
            shown["Description"] = line.description
        if line.item_id is not None:
            detail: Record = {
                "ItemRef": _ref(line.item_id, self._lists["Item"][line.item_id]["Name"]),
                "TaxCodeRef": _ref(line.tax_code),
            }
            if line.quantity is not None:
                detail["Qty"] = 0.0 if is_void else float(line.quantity)
            if line.unit is not None:
                detail["UnitPrice"] = float(line.unit)
            shown["SalesItemLineDetail"] = detail
        return shown

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        try:
            return self._seed(data)
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed {self.name}: {wrong!r}") from wrong

    def _seed(self, data: Record) -> Record:
        known = {each.name for each in fields(Settings)}
        if strange := sorted(set(data.get("settings", {})) - known):
            raise ValueError(
                f"there is no setting {', '.join(strange)}; there are {', '.join(sorted(known))}"
            )
        self.settings = replace(self.settings, **data.get("settings", {}))
        self.company_name = data.get("company", {}).get("name", self.company_name)
        connection = data.get("connection", {})
        self.realm_id = str(connection.get("realm_id", self.realm_id))
        self._connection.refresh_token = connection.get("refresh_token", self._connection.refresh_token)
        if (token := connection.get("access_token")) is not None:
            self._connection.access[token] = self.world.clock() + ACCESS_LIFE
        made: Record = {
            "customers": [self._seed_customer(each) for each in data.get("customers", ())],
            "accounts": [
                self._add(
                    "Account",
                    each.get("id"),
                    Name=each["name"],
                    AccountType=each.get("type", "Bank"),
                    Active=each.get("is_active", True),
                )
                for each in data.get("accounts", ())
            ],
            "items": [self._seed_item(each) for each in data.get("items", ())],
            "payment_methods": [
                self._add("PaymentMethod", each.get("id"), Name=each["name"])
                for each in data.get("payment_methods", ())
            ],
        }
        payments: list[_Document] = []
        sales: dict[str, list[_Document]] = {}
        for kind, name in (*_KINDS.items(),):
            if kind != "Payment":
                sales[f"{name}s"] = [
                    self._seed_sale(kind, each, payments) for each in data.get(f"{name}s", ())
                ]
        made |= {name: [self._show(each) for each in found] for name, found in sales.items()}
        return made | {"payments": [self._show(each) for each in payments]}

    def _seed_customer(self, described: Record) -> Record:
        email = {"PrimaryEmailAddr": {"Address": described["email"]}} if described.get("email") else {}
        return self._add(
            "Customer",
            described.get("id"),
            DisplayName=described["name"],
            CurrencyRef=_ref(described.get("currency", self.settings.home_currency)),
            Active=described.get("is_active", True),
            **email,
        )

    def _seed_item(self, described: Record) -> Record:
        stock = described.get("stock")
        shown = {
            "Name": described.get("title") or described["sku"],
            "Sku": described["sku"],
            "Active": described.get("is_active", True),
            **({"Type": "NonInventory"} if stock is None else _counted(int(stock))),
        }
        return self._add("Item", described.get("id"), **shown)

    def _seed_sale(self, kind: str, described: Record, payments: list[_Document]) -> _Document:
        id = str(described.get("id") or self._new_id())
        if id in self._documents:
            raise ValueError(f"there is a document {id} already")
        customer = self._customer_for(described)
        currency = described.get("currency", self.settings.home_currency).upper()
        created = self.world.clock()
        if "created" in described:
            created = datetime.fromisoformat(described["created"])
        lines = [
            self._seed_line(each, str(each.get("id", number)), currency)
            for number, each in enumerate(described["lines"], 1)
        ]
        if shipping := described.get("shipping_minor", 0):
            lines.append(
                _Line(
                    *(str(len(lines) + 1), "SalesItemLineDetail", "Shipping", shipping, _SHIPPING_ITEM),
                    tax_code="NON",
                )
            )
        kept: Record = {"CustomerRef": _ref(customer["Id"], customer["DisplayName"])}
        if email := described.get("email") or customer.get("PrimaryEmailAddr", {}).get("Address"):
            kept["BillEmail"] = {"Address": email}
        if "note" in described:
            kept["PrivateNote"] = described["note"]
        captured = [each for each in described.get("payments", ()) if each.get("is_captured", True)]
        if kind in ("SalesReceipt", "RefundReceipt"):
            account = described.get("account", "35")
            kept["DepositToAccountRef"] = _ref(account, self._lists["Account"][account]["Name"])
            for each in described.get("payments", ())[:1]:
                kept["PaymentRefNum"] = str(each.get("transaction", ""))[: self.settings.payment_ref_length]
        number = described.get("number")
        document = _Document(
            kind,
            id,
            None if number is None else str(number),
            date.fromisoformat(described["date"]) if "date" in described else created.date(),
            currency,
            customer["Id"],
            lines,
            described.get("tax_minor", 0),
            kept,
            created,
            created,
            deposit_id=self._new_id() if described.get("is_deposited") else None,
        )
        self._documents[id] = document
        if kind == "Invoice":
            payments += [
                self._pay(document, each["amount_minor"], each.get("transaction")) for each in captured
            ]
        return document

    def _customer_for(self, described: Record) -> Record:
        wanted, email = described.get("customer"), described.get("email")
        for each in self._lists["Customer"].values():
            if wanted is not None and wanted in (each["Id"], each["DisplayName"]):
                return each
            if wanted is None and email and each.get("PrimaryEmailAddr", {}).get("Address") == email:
                return each
        if wanted is None and not email:
            return self._lists["Customer"]["61"]
        currency = described.get("currency", self.settings.home_currency).upper()
        return self._seed_customer({"name": str(wanted or email), "email": email, "currency": currency})

    def _seed_line(self, described: Record, line_id: str, currency: str) -> _Line:
        quantity, unit = int(described.get("quantity", 1)), int(described["unit_price_minor"])
        known = (each for each in self._lists["Item"].values() if each["Sku"] == described["sku"])
        given: Record = {key: described[key] for key in ("sku", "title", "stock") if key in described}
        item = next(known, None) or self._seed_item(given)
        if "stock" in given:
            item |= _counted(int(given["stock"]))
        return _Line(
            line_id,
            "SalesItemLineDetail",
            described.get("title"),
            quantity * unit,
            item["Id"],
            Decimal(quantity),
            Decimal(Money(unit, currency).major),
        )

    def _pay(self, invoice: _Document, minor: int, transaction: str | None) -> _Document:
        """The customer's payment, applied to the invoice as far as it is open."""
        if minor <= 0:
            raise ValueError("a payment is more than nothing")
        now = self.world.clock()
        kept: Record = {
            "CustomerRef": invoice.fields["CustomerRef"],
            "DepositToAccountRef": _ref("35", self._lists["Account"]["35"]["Name"]),
        }
        if transaction is not None:
            kept["PaymentRefNum"] = transaction[: self.settings.payment_ref_length]
        # One line that is never shown holds the amount, so that a payment adds up as every document does.
        line = _Line("1", "SalesItemLineDetail", None, minor)
        payment = _Document(
            *("Payment", self._new_id(), None, invoice.day, invoice.currency, invoice.customer_id),
            *([line], 0, kept, now, now),
        )
        self._documents[payment.id] = payment
        if (applied := min(minor, self._left_minor(invoice))) > 0:
            self._links.append(_Link(payment.id, invoice.id, applied))
        return payment

    def settle(self, data: Record) -> Record:
        match data:
            case {"sales_receipt": str(key), "is_deposited": bool(is_deposited)}:
                sale = self._named(key, "SalesReceipt")
                sale.deposit_id = self._new_id() if is_deposited else None
                return self._show(sale)
            case {"invoice": str(key), "paid_minor": int(minor)}:
                invoice = self._named(key, "Invoice")
                payment = self._pay(invoice, minor, data.get("transaction"))
                self._touch(invoice)
                self._tell(payment, "created")
                self._tell(invoice, "updated")
                return {"invoice": self._show(invoice), "payment": self._show(payment)}
            case {"document": str(key), "edited": dict(edited)}:
                document = self._named(key)
                document.fields = {**document.fields, **edited}
                self._touch(document)
                self._tell(document, "updated")
                return self._show(document)
            case {"document": str(key), "deleted": True}:
                document = self._named(key)
                document.is_deleted = True
                self._touch(document)
                self._tell(document, "deleted")
                return self._gone(document)
            case {"book_close_date": str() | None as closed}:
                if closed is not None:
                    date.fromisoformat(closed)
                self.settings.book_close_date = closed
                return self._preferences()
            case {"item": str(key)}:
                items = self._lists["Item"].values()
                item = next((each for each in items if key in (each["Id"], each["Sku"])), None)
                if item is None:
                    raise NoSuchObjectError(f"no item {key!r} at the practice QuickBooks")
                if "stock" in data:
                    item |= _counted(int(data["stock"]))
                return dict(item)
            case {"access_tokens": "expired"}:
                count = len(self._connection.access)
                self._connection.access.clear()
                return {"access_tokens": count}
            case {"connection": "revoked" | "renewed" as word}:
                now = self.world.clock()
                self._connection = _Connection(self.mint("practice-refresh-", 40), now, now, now)
                # After "revoked" nobody is told the token, so there is none.
                return {"refresh_token": self._connection.refresh_token} if word == "renewed" else {}
            case _:
                raise ValueError("settle what? see the module's docstring")

    def _named(self, key: str, kind: str | None = None) -> _Document:
        for each in self._documents.values():
            if kind in (None, each.kind) and key in (each.id, each.number) and not each.is_deleted:
                return each
        raise NoSuchObjectError(f"no {kind or 'document'} {key!r} at the practice QuickBooks")

    # ------------------------------------------------------------ webhooks

    def _tell(self, document: _Document, what: str) -> None:
        event = self._event(f"qbo.{document.kind.lower()}.{what}.v1", document)
        self.emit(event)

    def _event(self, topic: str, document: _Document) -> Event:
        id, at = str(self.mint("evt-", 32)), self.world.clock()
        kind, what = document.kind, topic.split(".")[2]
        body: Any = [
            {
                "specversion": "1.0",
                "id": id,
                "source": "intuit.practice",
                "type": topic,
                "datacontenttype": "application/json",
                "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "intuitentityid": document.id,
                "intuitaccountid": self.realm_id,
                "data": {},
            }
        ]
        if self.settings.webhook_form == "legacy":
            verb = {"created": "Create", "updated": "Update", "deleted": "Delete", "voided": "Void"}[what]
            entity = {"name": kind, "id": document.id, "operation": verb, "lastUpdated": self._time()}
            change = {"realmId": self.realm_id, "dataChangeEvent": {"entities": [entity]}}
            body = {"eventNotifications": [change]}
        event = Event(id, topic, body)
        self._events.append((document.id, event))
        return event

    def event_for(self, topic: str, object_id: str) -> Event:
        """The newest event of that type about the document, or one made now: asked for twice it is the same event."""
        for about, event in reversed(self._events):
            if about == object_id and event.topic == topic:
                return event
        document = self._documents.get(object_id)
        pattern = rf"qbo\.{document.kind.lower()}\.(created|updated|deleted|voided)\.v1" if document else ""
        if document is None or not re.fullmatch(pattern, topic):
            raise NoSuchObjectError(f"no {topic!r} about {object_id!r} at the practice QuickBooks")
        return self._event(topic, document)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`intuit-signature`: base64 of HMAC-SHA256 over the raw body, keyed with the verifier token as text; no time in it."""
        body = event.payload
        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "intuit-signature": base64.b64encode(digest).decode(),
            "User-Agent": "intuit_notification_server/1.0",
        }
        return Delivery(headers, body)


# ---------------------------------------------------------------- the query language


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: `sign` is =, <, >, <=, >=, in or like."""

    field: str
    sign: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query as read. `fields`: empty for all. `order`: names, and whether descending. `start` counts from 1."""

    entity: str
    is_count: bool
    fields: tuple[str, ...]
    conditions: tuple[Condition, ...]
    order: tuple[tuple[str, bool], ...]
    start: int
    most: int


_WORD: Final = re.compile(
    r"\s*(?:'(?P<text>(?:[^'\\]|\\.)*)'|(?P<name>[A-Za-z][\w.]*)|(?P<number>\d+)|(?P<sign><=|>=|[=<>(),*]))",
    re.DOTALL,
)
_SIGNS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class _Words:
    """The words of a query, taken one by one; what does not fit is error 4000."""

    def __init__(self, text: str) -> None:
        self._words: list[tuple[str, str]] = []
        text, at = text.rstrip(), 0
        while at < len(text):
            if (found := _WORD.match(text, at)) is None:
                fail("4000", f"Cannot read on at {text[at : at + 20]!r}")
            kind = str(found.lastgroup)
            self._words.append((kind, found[kind]))
            at = found.end()

    def take(self, kind: str) -> str:
        found, word = self._words.pop(0) if self._words else ("end", "")
        if found != kind:
            fail("4000", f"Encountered {word!r} where a {kind} was expected")
        return word

    def skip(self, *expected: str) -> bool:
        """Takes these words where they come next, whatever their case; says whether they did."""
        following = [word.lower() for kind, word in self._words[: len(expected)] if kind != "text"]
        if following != list(expected):
            return False
        del self._words[: len(expected)]
        return True

    def need(self, *expected: str) -> None:
        if not self.skip(*expected):
            fail("4000", f"Expected {' '.join(expected)} at {[word for _, word in self._words[:3]]}")

    def value(self) -> str:
        for word in ("true", "false"):
            if self.skip(word):
                return word
        return re.sub(r"\\(.)", r"\1", self.take("text"), flags=re.DOTALL)

    def some(self, take: Callable[[], str]) -> tuple[str, ...]:
        taken = [take()]
        while self.skip(","):
            taken.append(take())
        return tuple(taken)

    def end(self) -> None:
        if self._words:
            fail("4000", f"Encountered {self._words[0][1]!r} where the query should end")


def read_query(text: str) -> Query:
    """`select * | count(*) | a, b from E [where a = 'x' and …] [orderby a [desc]] [startposition n] [maxresults n]`.

    Conditions are joined by AND only; a quote inside a value is escaped with a backslash. Error 4000 for anything else.
    """
    words = _Words(text)
    words.need("select")
    is_count = words.skip("count", "(", "*", ")")
    chosen: tuple[str, ...] = ()
    if not is_count and not words.skip("*"):
        chosen = words.some(lambda: words.take("name"))
    words.need("from")
    entity = words.take("name")
    conditions = []
    if words.skip("where"):
        conditions.append(_condition(words))
        while words.skip("and"):
            conditions.append(_condition(words))
    order = []
    if words.skip("orderby") or words.skip("order", "by"):
        while True:
            name = words.take("name")
            order.append((name, words.skip("desc") or (words.skip("asc") and False)))
            if not words.skip(","):
                break
    start = int(words.take("number")) if words.skip("startposition") else 1
    most = int(words.take("number")) if words.skip("maxresults") else ROWS
    words.end()
    if start < 1 or not 1 <= most <= ROWS_MOST:
        fail("4001", f"STARTPOSITION is 1 or more, MAXRESULTS at most {ROWS_MOST}")
    return Query(entity, is_count, chosen, tuple(conditions), tuple(order), start, most)


def _condition(words: _Words) -> Condition:
    name = words.take("name")
    if words.skip("in"):
        words.need("(")
        values = words.some(words.value)
        words.need(")")
        return Condition(name, "in", values)
    if words.skip("like"):
        return Condition(name, "like", (words.value(),))
    sign = words.take("sign")
    if sign not in _SIGNS:
        fail("4000", f"Encountered {sign!r} where a comparison was expected")
    return Condition(name, sign, (words.value(),))


def _fits(condition: Condition, found: Any) -> bool:
    if found is None:
        return False
    if condition.sign == "like":
        pattern = ".*".join(re.escape(part) for part in condition.values[0].split("%"))
        return re.fullmatch(pattern, str(found), re.DOTALL) is not None
    values = [_typed(condition.field, each, found) for each in condition.values]
    mine = _typed(condition.field, found, found)
    if condition.sign == "in":
        return mine in values
    return _SIGNS[condition.sign](mine, values[0])


def _typed(name: str, value: Any, like: Any) -> Any:
    """A value in the type that the property is compared in."""
    if name.endswith("Time"):
        return _moment(str(value), name, "4001")
    if name.endswith("Date"):
        return _day(value, "4001")
    if isinstance(like, bool):
        return str(value).lower()
    if isinstance(like, int | float) or (name == "Id" and str(like).isdecimal() and str(value).isdecimal()):
        try:
            return Decimal(str(value))
        except ArithmeticError:
            fail("4001", f"{name} is compared with a number", name)
    return str(value)


def _sort_key(name: str, value: Any) -> tuple[bool, Any]:
    return (value is not None, 0 if value is None else _typed(name, value, value))


def _at(row: Record, path: str) -> Any:
    found: Any = row
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found["value"] if isinstance(found, dict) and "value" in found else found


def _chosen(row: Record, names: Iterable[str]) -> Record:
    wanted = {"domain", "sparse", "Id", *(name.split(".")[0] for name in names)}
    return {name: value for name, value in row.items() if name in wanted}


# ---------------------------------------------------------------- reading and writing values


def _fault(code: str, detail: str, element: str = "") -> Answer:
    status, kind, message = _ERRORS.get(code, (400, "ValidationFault", "The request was refused"))
    error = {"Message": message, "Detail": detail, "code": code, "element": element}
    return Answer(status, {"Fault": {"Error": [error], "type": kind}})


def _ref(value: str, name: str | None = None) -> Record:
    return {"value": value} if name is None else {"value": value, "name": name}


def _counted(stock: int) -> Record:
    """What makes an item one of inventory."""
    return {"Type": "Inventory", "TrackQtyOnHand": True, "QtyOnHand": stock}


def _meta(created: datetime, updated: datetime) -> Record:
    return {
        "CreateTime": created.isoformat(timespec="seconds"),
        "LastUpdatedTime": updated.isoformat(timespec="seconds"),
    }


def _request_id(call: Call) -> str:
    return dict(call.query_pairs).get("requestid", "") if call.method == "POST" else ""


def _takes_json(call: Call) -> bool:
    return "application/json" in call.headers.get("accept", "").lower()


def _is_client(header: str) -> bool:
    scheme, _, value = header.partition(" ")
    try:
        pair = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:
        return False
    return scheme.lower() == "basic" and pair == f"{CLIENT_ID}:{CLIENT_SECRET}"


def _text(body: Record, name: str, most: int) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        fail("2010", f"{name} is a text", name)
    if value is not None and len(value) > most:
        fail("2050", f"{name} has at most {most} characters, not {len(value)}", name)
    return value


def _decimal(value: Any, element: str) -> Decimal:
    """A JSON number; a text with digits in it is none."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        fail("2090", f"{value!r} is not a number", element)
    return Decimal(value)


def _minor(amount: Decimal, currency: str, element: str) -> int:
    try:
        return Money.from_major(amount, currency).minor
    except ValueError as wrong:
        fail("2090", str(wrong), element)


def _rounded(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(exponent_of(currency)).quantize(Decimal(1), ROUND_HALF_UP))


def _number(minor: int, currency: str) -> float:
    """Minor units as the JSON number that the vendor writes. Only the wire sees it; the books here hold integers."""
    return float(Money(minor, currency).major)


def _day(value: Any, code: str = "2010") -> date:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        fail(code, f"{value!r} is not a date", "TxnDate")
    try:
        return date.fromisoformat(value)
    except ValueError:
        fail(code, f"{value!r} is not a date", "TxnDate")


def _moment(text: str, element: str, code: str = "2010") -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        # An unescaped "+" in the address arrives as a space, and ends here too.
        fail(code, f"{text!r} is not a date and time", element)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case Decimal():
            return float(value)
        case _:
            return value


def _xml(body: Record) -> str:
    def write(name: str, value: Any) -> str:
        match value:
            case list():
                return "".join(write(name, each) for each in value)
            case dict():
                return f"<{name}>{''.join(write(key, each) for key, each in value.items())}</{name}>"
            case bool():
                return f"<{name}>{str(value).lower()}</{name}>"
            case _:
                return f"<{name}>{escape(str(value))}</{name}>"

    return f'<?xml version="1.0" encoding="UTF-8"?>{write("IntuitResponse", body)}'
