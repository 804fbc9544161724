"""A practice SAP Business One: the Service Layer (OData V4) of one company under `/sap-business-one/b1s/v2/`.

Shapes and rules: the Service Layer API reference for OData V4 of 10.0 FP 2405, its $metadata, and error answers seen in
public integrations, read 2026-11-23. `/b1s/v1` and `$batch` are not served; amounts are in the document's currency, whose
rate is 1. Texts of refusals come in the session's language (English or German): nobody shall branch on them.

Strict about: both cookies (a call without its `ROUTEID` lands on a node that does not know the session), minutes of
inactivity, property names in bodies and in `$filter`, `$select` and `$orderby` (user fields that the company has not set up
included), text lengths, base documents, open quantities and open amounts, cards and currencies that match, `If-Match`. Codes
are strings. Lists hold 20 rows unless `Prefer: odata.maxpagesize` says otherwise, and `@odata.nextLink` is relative. Options
without `$` are ignored, as OData has it. There is no idempotency: the same POST twice is two documents.

Where the vendor's behaviour is not certain: a paid invoice is closed in its head while its lines stay open, and is refused as
a base (`can_credit_paid`); a cancelled or closed order keeps the `RemainingOpenQuantity` of its lines, only their status says
that nothing is left; drafts of payments are in `PaymentDrafts`; what a cancellation document copies includes the user fields,
and it is `Cancelled` tNO itself (look at `CancelStatus`); a price on a line with a base is believed.

Approval: a POST to a collection named in the setting `approval`, or under a slow_pending fault, becomes a draft. It is answered
400 with code -2028, or 204 without a `Location` where `Prefer: return-no-content` was sent. A late_failure fault on a
payment or credit note lets the accountant cancel it later.

Book: `cancel_order` and `close_order` with one `restock` per line whose committed units became free; `note_order`,
`change_order`; `create_return` with `restock`; `credit_note` with `restock` (not for lines `WithoutInventoryMovement`, nor
where a return brought the goods back already); `record_refund` and `cancel_refund_record` for outgoing payments;
`void_invoice`, `void_delivery` (both with `restock`), `void_return`, `void_credit_note` (both with `unstock`); `create_draft`.
`target` has the order at the root of the bases, or for rows without one the partner's only order with that `NumAtCard`;
`reference` is `U_RefundflowId`, else the comment or the payment's reference.

`seed({"settings"?: {…, see Settings}, "items"?: [{"sku", "title"?, "stock"?, "warehouse"?, "is_stock"?}],
"orders": [{"id"? (DocEntry), "doc_num"?, "number"? (NumAtCard), "customer"?, "email"?, "currency"? (EUR), "created"?,
"comments"?, "U_…"?, "lines": [{"id"? (LineNum), "sku", "title"?, "quantity"?, "unit_minor" (net), "tax_code"? (EX), "shipped"?,
"stock"?, "warehouse"?, "is_stock"?}], "shipping_minor"? (a line of the non-stock item SHIPPING), "is_invoiced"?,
"is_reserve"?, "is_cancelled"?, "is_closed"?, "delivery_id"?, "invoice_id"?,
"payments"?: [{"gateway"?, "amount_minor"?, "reference"?, "is_captured"?}]}]})`. What is only authorised leaves no trace in the
company's books; what is captured is an incoming payment, on the invoice where there is one. `stock` is what is on hand now,
after all of that. Returned: DocEntry, number, total, lines, deliveries, invoices and payments of each order.

`settle` takes `{"order": id, "deliver": true | {"0": 1}}`, `{"order": id, "invoice": true}`,
`{"order": id, "cancel": true}` or `{"order": id, "close": true}` (a person at the client),
`{"invoice": id, "pay_minor": 500}`, `{"payment": id, "cancel": true}`, `{"credit_note": id, "cancel": true}`,
`{"draft": id, "status": "approved" | "rejected" | "generated"}`, the same with `"payment_draft"`,
`{"item": sku, "stock"?: 5}` (tells stock, committed, available) or `{"sessions": "expired"}`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import operator
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import quote, unquote

from refundflow.domain.money import Money, exponent_of
from refundflow.sandbox.base import (
    Answer,
    Call,
    Handler,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

COMPANY: Final = "SBOPRACTICE"
USER: Final = "refundflow"
PASSWORD: Final = "practice-sap-password"  # noqa: S105 (a practice secret, known to everybody)
FIELD: Final = "U_RefundflowId"

_ROOT: Final = "/b1s/v2"
_HOST: Final = "https://practice:50000"
_CARD: Final = "C20000"
_ORDER, _DELIVERY, _INVOICE, _RETURN, _CREDIT = (
    "Orders",
    "DeliveryNotes",
    "Invoices",
    "Returns",
    "CreditNotes",
)
_DRAFTS, _OUT, _IN, _OUT_DRAFTS = "Drafts", "VendorPayments", "IncomingPayments", "PaymentDrafts"
_TYPES: Final[Mapping[str, int]] = {_ORDER: 17, _DELIVERY: 15, _INVOICE: 13, _RETURN: 16, _CREDIT: 14}
_OBJECTS: Final = {_ORDER: "oOrders", _DELIVERY: "oDeliveryNotes", _INVOICE: "oInvoices"} | {
    _RETURN: "oReturns",
    _CREDIT: "oCreditNotes",
}
_FIRST_NUMBER: Final = {_ORDER: 5000, _DELIVERY: 6000, _INVOICE: 7000, _RETURN: 8000, _CREDIT: 9000}
_BASES: Final = {_RETURN: (_DELIVERY,), _CREDIT: (_INVOICE, _RETURN)}
_VOIDS: Final = {_DELIVERY: "void_delivery", _INVOICE: "void_invoice"} | {
    _RETURN: "void_return",
    _CREDIT: "void_credit_note",
}
# What a filter may name, with the type of what it is compared with.
_DOCUMENT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("DocEntry", "DocNum", "DraftKey"), "int"),
    **dict.fromkeys(("DocTotal", "VatSum", "DocRate", "DocTotalFc", "PaidToDate", "PaidToDateFC"), "number"),
    "DiscountPercent": "number",
    **dict.fromkeys(("DocDate", "DocDueDate", "TaxDate", "CreationDate", "UpdateDate", "CancelDate"), "date"),
    **dict.fromkeys(("DocType", "CardCode", "CardName", "NumAtCard", "DocCurrency", "Comments"), "text"),
    **dict.fromkeys(("JournalMemo", "Reference1", "Reference2", "DocObjectCode", "DocumentStatus"), "text"),
    **dict.fromkeys(("Cancelled", "CancelStatus", "AuthorizationStatus", "ReserveInvoice"), "text"),
    **dict.fromkeys(("DocTime", "UpdateTime"), "text"),
    "DocumentLines": "list",
}
_PAYMENT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("DocEntry", "DocNum"), "int"),
    **dict.fromkeys(("TransferSum", "CashSum", "DocRate"), "number"),
    **dict.fromkeys(("DocDate", "TaxDate", "TransferDate"), "date"),
    **dict.fromkeys(("DocType", "CardCode", "CardName", "DocCurrency", "TransferAccount"), "text"),
    **dict.fromkeys(("CashAccount", "TransferReference", "CounterReference", "Remarks"), "text"),
    **dict.fromkeys(("JournalRemarks", "Reference1", "Reference2", "DocObjectCode", "Cancelled"), "text"),
    **dict.fromkeys(("CancelStatus", "AuthorizationStatus"), "text"),
    "PaymentInvoices": "list",
}
# Texts that a body may carry, with the longest that their columns hold.
_DATES: Final = dict.fromkeys(("DocDate", "DocDueDate", "TaxDate", "TransferDate"), 20)
_SHARED_TEXTS: Final = {"DocType": 20, "CardCode": 15, "DocCurrency": 3, "Reference1": 11, "Reference2": 11}
_DOCUMENT_TEXTS: Final = _SHARED_TEXTS | _DATES | {"NumAtCard": 100, "Comments": 254, "JournalMemo": 50}
_PAYMENT_TEXTS: Final = (
    _SHARED_TEXTS
    | _DATES
    | {"TransferAccount": 15, "CashAccount": 15, "TransferReference": 27, "CounterReference": 8}
    | {"Remarks": 254, "JournalRemarks": 50}
)
# What the rows of a body may carry, and which of it is whole numbers, amounts or texts.
_ROW_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "DocumentLine": {
        **dict.fromkeys(("LineNum", "BaseType", "BaseEntry", "BaseLine"), "int"),
        **dict.fromkeys(("Quantity", "UnitPrice", "Price"), "number"),
        **dict.fromkeys(("ItemCode", "ItemDescription", "TaxCode", "VatGroup", "WarehouseCode"), "text"),
        **dict.fromkeys(("WithoutInventoryMovement", "FreeText", "LineStatus"), "text"),
    },
    "PaymentInvoice": {
        **dict.fromkeys(("DocEntry", "LineNum", "InstallmentId"), "int"),
        "SumApplied": "number",
        "InvoiceType": "text",
    },
}
_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "session": ("The session is unknown or ran out", "Die Sitzung ist unbekannt oder abgelaufen"),
    "login": (
        "Login failed: company, user or password",
        "Anmeldung fehlgeschlagen: Firma, Benutzer, Kennwort",
    ),
    "none": ("There is no such record (ODBC -2028)", "Diesen Datensatz gibt es nicht (ODBC -2028)"),
    "json": ("The body cannot be read as a JSON object", "Der Inhalt ist kein JSON-Objekt"),
    "body": ("This action takes no content", "Diese Aktion nimmt keinen Inhalt an"),
    "key": ("'{0}' is no key of this entity", "'{0}' ist kein Schlüssel dieser Entität"),
    "property": ("'{0}' is not a property of '{1}'", "'{0}' ist keine Eigenschaft von '{1}'"),
    "type": ("The value of '{0}' has the wrong type", "Der Wert von '{0}' hat den falschen Typ"),
    "long": ("The value of '{0}' is too long for its field", "Der Wert von '{0}' ist zu lang für sein Feld"),
    "filter": ("The query cannot be understood at '{0}'", "Die Abfrage ist bei '{0}' nicht verständlich"),
    "changed": ("Somebody else changed the record (ODBC -2039)", "Jemand anderes hat geändert (ODBC -2039)"),
    "cancelled": ("The document is cancelled already", "Der Beleg ist bereits storniert"),
    "closed": ("The document is closed", "Der Beleg ist geschlossen"),
    "fixed": ("'{0}' cannot be changed", "'{0}' ist nicht änderbar"),
    "drawn": ("Rows were copied to other documents", "Zeilen wurden in andere Belege übernommen"),
    "posted": ("Posted documents need a cancellation document", "Gebuchte Belege brauchen einen Stornobeleg"),
    "order": ("Orders are cancelled without a document", "Aufträge werden ohne Stornobeleg storniert"),
    "partner": ("Unknown business partner '{0}'", "Unbekannter Geschäftspartner '{0}'"),
    "date": ("'{0}' is no date of an open period", "'{0}' ist kein Datum einer offenen Periode"),
    "lines": ("A document needs at least one row", "Ein Beleg braucht mindestens eine Zeile"),
    "base": ("Row {0}: the base document is closed", "Zeile {0}: der Basisbeleg ist geschlossen"),
    "no_base": ("Row {0}: there is no such base row", "Zeile {0}: diese Basiszeile gibt es nicht"),
    "card": ("The base document is another partner's", "Der Basisbeleg gehört einem anderen Partner"),
    "currency": ("The base document has another currency", "Der Basisbeleg hat eine andere Währung"),
    "much": ("Row {0}: more than is open ({1})", "Zeile {0}: mehr als offen ist ({1})"),
    "quantity": ("Row {0}: not a quantity of whole units", "Zeile {0}: keine Menge ganzer Einheiten"),
    "row": ("Row {0}: '{1}' is missing or unknown", "Zeile {0}: '{1}' fehlt oder ist unbekannt"),
    "reserve": ("Reserve invoices are not practised here", "Vorausrechnungen werden hier nicht geübt"),
    "doc_type": ("Only payments to customers are practised", "Nur Zahlungen an Kunden werden geübt"),
    "means": ("A payment needs a sum and its account", "Eine Zahlung braucht Summe und Konto"),
    "account": ("Unknown G/L account '{0}'", "Unbekanntes Sachkonto '{0}'"),
    "kind": ("'{0}' is no value of '{1}'", "'{0}' ist kein Wert von '{1}'"),
    "no_paid": ("Row {0}: no such open document", "Zeile {0}: kein solcher offener Beleg"),
    "sum": ("More is applied than is open or is paid", "Mehr zugeordnet als offen ist oder bezahlt wird"),
    "twice": ("SBO_SP: '{0}' was posted before", "SBO_SP: '{0}' wurde schon gebucht"),
    "stock": ("10: stock of '{0}' would fall below zero", "10: Bestand von '{0}' würde negativ"),
    "practised": ("Refused by the practice company", "Von der Übungsfirma abgelehnt"),
    "server": ("The practice server has a problem", "Der Übungsserver hat ein Problem"),
    "path": ("Nothing is found under this address", "Unter dieser Adresse gibt es nichts"),
}
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_SEARCH: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<date>\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z?)?)|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>[(),]))"
)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOST: Final = 10**12
_STATUS_OF_CODE: Final = {"-2028": 404, "-2039": 412, "-304": 401, "301": 401}
_AUTHORIZATION: Final = {"approved": "Approved", "rejected": "Rejected", "generated": "Generated"}

Test = Callable[[Record], bool]


@dataclass(slots=True)
class Settings:
    """How the company and its server are set up.

    `session_minutes`: of inactivity. `needs_route`: whether a call must carry its session's `ROUTEID`. `language`: "en" or
    "de", unless the login names one (3, 9). `document_fields`, `payment_fields`: user fields that exist. `approval`: collections
    whose POST becomes a draft. `can_credit_paid`: whether a paid invoice may be a base. `rejects_duplicates`: whether the
    company's own check refuses a used `U_RefundflowId`. `locked_until`: last day of the locked period (a date as text).
    `session_limit`: a login beyond it is answered 503 by the proxy. `accounts`, `warehouses`, `tax_codes` (code: percent): what
    bodies may name.
    """

    session_minutes: int = 30
    session_limit: int = 50
    needs_route: bool = True
    language: str = "en"
    document_fields: list[str] = field(default_factory=lambda: [FIELD])
    payment_fields: list[str] = field(default_factory=lambda: [FIELD])
    approval: list[str] = field(default_factory=list)
    can_credit_paid: bool = False
    rejects_duplicates: bool = False
    locked_until: str = ""
    warehouses: list[str] = field(default_factory=lambda: ["01", "02"])
    accounts: list[str] = field(default_factory=lambda: ["161020", "161010"])
    tax_codes: dict[str, str] = field(
        default_factory=lambda: {"EX": "0", "A1": "19", "A2": "7", "T1": "8.25"}
    )


@dataclass(slots=True)
class _Session:
    route: str
    language: str
    used: datetime


@dataclass(slots=True)
class _Item:
    """`on_hand`: units by warehouse. What is committed follows from the open orders."""

    sku: str
    title: str
    is_stock: bool = True
    on_hand: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Line:
    """`used`: how many units were drawn to later documents. `base`: collection, DocEntry and LineNum."""

    num: int
    sku: str
    title: str
    quantity: int
    unit: Decimal
    tax_code: str
    tax_percent: Decimal
    warehouse: str
    base: tuple[str, int, int] | None = None
    is_without_stock: bool = False
    used: int = 0
    is_closed: bool = False
    text: str = ""

    @property
    def left(self) -> int:
        return self.quantity - self.used


@dataclass(slots=True)
class _Paper:
    """What documents and payments share. `values`: texts as they were written on it, user fields among them."""

    kind: str
    entry: int
    num: int
    card: str
    currency: str
    day: date
    values: Record
    created: datetime
    updated: datetime
    version: int = 0
    cancel_status: str = "csNo"
    authorization: str = "Without"
    body: Record | None = None

    @property
    def is_cancelled(self) -> bool:
        return self.cancel_status == "csYes"


@dataclass(slots=True)
class _Document(_Paper):
    """`paid`: minor units settled by payments or by each other. `applied`: what a credit memo took off an invoice, by entry."""

    lines: list[_Line] = field(default_factory=list)
    paid: int = 0
    applied: dict[int, int] = field(default_factory=dict)
    is_closed: bool = False
    is_reserve: bool = False

    @property
    def number(self) -> str:
        return str(self.values.get("NumAtCard") or "")

    def net_minor(self, line: _Line) -> int:
        return _whole((line.unit * line.quantity).scaleb(exponent_of(self.currency)))

    def tax_minor(self, line: _Line) -> int:
        return _whole(self.net_minor(line) * line.tax_percent / 100)

    @property
    def total_minor(self) -> int:
        return sum(self.net_minor(each) + self.tax_minor(each) for each in self.lines)

    @property
    def due_minor(self) -> int:
        return self.total_minor - self.paid

    @property
    def is_open(self) -> bool:
        if self.cancel_status != "csNo" or self.is_closed:
            return False
        if self.kind in (_INVOICE, _CREDIT):
            # The head looks at the money alone: lines of a paid invoice stay open.
            return self.due_minor > 0
        return any(each.left > 0 and not each.is_closed for each in self.lines)

    def is_line_open(self, line: _Line) -> bool:
        is_live = self.cancel_status == "csNo" and not self.is_closed
        return is_live and line.left > 0 and not line.is_closed


@dataclass(slots=True)
class _Payment(_Paper):
    """`settles`: collection, DocEntry and minor units applied."""

    transfer_minor: int = 0
    cash_minor: int = 0
    settles: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def total_minor(self) -> int:
        return self.transfer_minor + self.cash_minor


class SapBusinessOne(Vendor):
    """One company. See the module's docstring."""

    name: ClassVar[str] = "sap-business-one"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        lists = (
            *((_ORDER, "order"), (_DELIVERY, "delivery"), (_INVOICE, "invoice"), (_RETURN, "return")),
            *((_CREDIT, "credit_note"), (_DRAFTS, "draft"), (_OUT, "vendor_payment")),
            *((_IN, "incoming_payment"), (_OUT_DRAFTS, "payment_draft")),
        )
        table = [
            Route("POST", f"{_ROOT}/Login", "login", self._login, is_open=True),
            Route("POST", f"{_ROOT}/Logout", "logout", self._logout),
            Route("GET", f"{_ROOT}/Items({{id}})", "get_item", self._get_item),
            Route("GET", f"{_ROOT}/BusinessPartners({{id}})", "get_business_partner", self._get_partner),
        ]
        for kind, word in lists:
            many = "deliveries" if kind == _DELIVERY else f"{word}s"
            one = f"{_ROOT}/{kind}({{id}})"
            table.append(Route("GET", f"{_ROOT}/{kind}", f"list_{many}", self._lister(kind)))
            table.append(Route("GET", one, f"get_{word}", self._getter(kind)))
            if kind in _VOIDS:
                void = self._voider(kind)
                table.append(Route("POST", f"{one}/CreateCancellationDocument", _VOIDS[kind], void))
                table.append(Route("POST", f"{one}/Cancel", f"cancel_{word}", self._refuser("posted")))
        order = f"{_ROOT}/{_ORDER}({{id}})"
        self._routes = (
            *table,
            Route("PATCH", order, "update_order", self._update_order),
            Route("POST", f"{order}/Cancel", "cancel_order", self._order_action(self._cancel)),
            Route("POST", f"{order}/Close", "close_order", self._order_action(self._close)),
            Route("POST", f"{order}/CreateCancellationDocument", "void_order", self._refuser("order")),
            Route("POST", f"{_ROOT}/{_RETURN}", "create_return", self._creator(_RETURN)),
            Route("POST", f"{_ROOT}/{_CREDIT}", "create_credit_note", self._creator(_CREDIT)),
            Route("POST", f"{_ROOT}/{_OUT}", "create_vendor_payment", self._creator(_OUT)),
            Route("POST", f"{_ROOT}/{_OUT}({{id}})/Cancel", "cancel_vendor_payment", self._cancel_payment),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.settings = Settings()
        self.sessions: dict[str, _Session] = {}
        self.items: dict[str, _Item] = {}
        self.partners: dict[str, Record] = {_CARD: {"CardCode": _CARD, "CardName": "Web shop customer"}}
        self.papers: dict[str, dict[int, Any]] = {
            kind: {} for kind in (*_TYPES, _DRAFTS, _OUT, _IN, _OUT_DRAFTS)
        }

    # ------------------------------------------------------------ at the door

    def _login(self, call: Call) -> Answer:
        asked = self._body(call)
        if any(not isinstance(asked.get(name), str) for name in ("CompanyDB", "UserName", "Password")):
            self._fail(call, "-304", "login")
        if (asked["CompanyDB"], asked["UserName"], asked["Password"]) != (COMPANY, USER, PASSWORD):
            self._fail(call, "-304", "login")
        now = self.world.clock()
        self.sessions = {id: each for id, each in self.sessions.items() if not self._is_over(each, now)}
        if len(self.sessions) >= self.settings.session_limit:
            # What stands in front of the workers answers, not the Service Layer.
            page = "<html><body><h1>503 Service Unavailable</h1></body></html>"
            return Answer(503, page, content_type="text/html")
        language = {"3": "en", "9": "de"}.get(str(asked.get("Language", "")), self.settings.language)
        id, route = str(uuid.uuid4()), f".node{len(self.sessions) % 2 + 1}"
        self.sessions[id] = _Session(route, language, now)
        body = {
            "@odata.context": f"{_HOST}{_ROOT}/$metadata#B1Sessions/$entity",
            "SessionId": id,
            "Version": "1000290",
            "SessionTimeout": self.settings.session_minutes,
        }
        # Two cookies are two header lines: names of headers do not differ by case, keys of a dict do.
        headers = {"Set-Cookie": f"B1SESSION={id};HttpOnly;", "set-cookie": f"ROUTEID={route}; path=/b1s"}
        return Answer(200, body, headers)

    def _logout(self, call: Call) -> Answer:
        del self.sessions[_cookies(call)["B1SESSION"]]
        return Answer(204)

    def _is_over(self, session: _Session, now: datetime) -> bool:
        return now - session.used >= timedelta(minutes=self.settings.session_minutes)

    def authorise(self, call: Call) -> Answer | None:
        cookies, now = _cookies(call), self.world.clock()
        id = cookies.get("B1SESSION", "")
        session = self.sessions.get(id)
        if session is None or (self.settings.needs_route and cookies.get("ROUTEID") != session.route):
            return self.unauthorised(call)
        if self._is_over(session, now):
            del self.sessions[id]
            return self.unauthorised(call)
        session.used = now
        return None

    def unauthorised(self, call: Call) -> Answer:
        return self._error(call, "301", "session")

    def refuse(self, call: Call) -> Answer:
        if call.operation == "login":
            return self._error(call, "-304", "login")
        code = (call.fault.code if call.fault else "") or ("-6006" if call.method == "GET" else "-5002")
        status = 400 if code == "-2028" and call.method != "GET" else _STATUS_OF_CODE.get(code, 400)
        return self._error(call, code, "none" if code == "-2028" else "practised", status=status)

    def not_found(self, call: Call) -> Answer:
        return self._error(call, "-1000", "path", status=404)

    def failure(self, call: Call, status: int) -> Record:
        body: Record = self._error(call, "-1", "server", status=status).body
        return body

    def _error(self, call: Call | None, code: str, text: str, *values: object, status: int = 0) -> Answer:
        session = self.sessions.get(_cookies(call).get("B1SESSION", "")) if call is not None else None
        language = session.language if session is not None else self.settings.language
        message = _TEXTS[text][language == "de"].format(*values)
        error = {"code": code, "message": message, "details": []}
        return Answer(status or _STATUS_OF_CODE.get(code, 400), {"error": error})

    def _fail(self, call: Call | None, code: str, text: str, *values: object, status: int = 0) -> NoReturn:
        raise RefusalError(self._error(call, code, text, *values, status=status))

    def _body(self, call: Call) -> Record:
        try:
            read = json.loads(call.body, parse_float=Decimal, parse_constant=_refuse_constant)
        except ValueError:
            read = None
        if not isinstance(read, dict):
            self._fail(call, "-1000", "json")
        return read

    def _refuser(self, text: str) -> Handler:
        def handle(call: Call) -> Answer:
            kind = call.path.removeprefix(f"{_ROOT}/").partition("(")[0]
            self._one(call, kind)
            self._fail(call, "-5002", text)

        return handle

    # ------------------------------------------------------------ looking up

    def _one(self, call: Call, kind: str) -> Any:
        key = call.ids["id"].removeprefix("DocEntry=")
        if not key.isdecimal():
            self._fail(call, "-1000", "key", key)
        if (found := self.papers[kind].get(int(key))) is None:
            self._fail(call, "-2028", "none")
        return found

    def _names(self, kind: str) -> dict[str, str]:
        is_payment = kind in (_OUT, _IN, _OUT_DRAFTS)
        own = self.settings.payment_fields if is_payment else self.settings.document_fields
        return {**(_PAYMENT if is_payment else _DOCUMENT), **dict.fromkeys(own, "text")}

    def _getter(self, kind: str) -> Handler:
        def get(call: Call) -> Answer:
            paper = self._one(call, kind)
            options = self._options(call, ("$select",))
            shown = self._selected(call, self._show(paper), options, self._names(kind))
            tag = _etag(paper)
            context = f"{_HOST}{_ROOT}/$metadata#{kind}/$entity"
            return Answer(200, {"@odata.context": context, "@odata.etag": tag, **shown}, {"ETag": tag})

        return get

    def _lister(self, kind: str) -> Handler:
        def show(call: Call) -> Answer:
            known = ("$filter", "$select", "$orderby", "$top", "$skip", "$count")
            options, names = self._options(call, known), self._names(kind)
            self._selected(call, dict.fromkeys(names), options, names)  # a wrong name is one without rows too
            rows = [self._show(each) for _, each in sorted(self.papers[kind].items())]
            if "$filter" in options:
                test = self._read_filter(call, options["$filter"], names)
                rows = [each for each in rows if test(each)]
            rows = self._ordered(call, rows, options.get("$orderby", ""), names)
            body: Record = {"@odata.context": f"{_HOST}{_ROOT}/$metadata#{kind}"}
            if options.get("$count") == "true":
                body["@odata.count"] = len(rows)
            skip = self._natural(call, options, "$skip", 0)
            top = self._natural(call, options, "$top", len(rows))
            wanted = rows[skip : skip + top]
            size = _page_size(call) or max(len(wanted), 1)
            body["value"] = [self._selected(call, each, options, names) for each in wanted[:size]]
            if len(wanted) > size:
                following = {**options, "$skip": str(skip + size)}
                if "$top" in options:
                    following["$top"] = str(top - size)
                query = "&".join(f"{name}={quote(value, safe=chr(44))}" for name, value in following.items())
                body["@odata.nextLink"] = f"{kind}?{query}"
            return Answer(200, body)

        return show

    def _options(self, call: Call, known: Sequence[str]) -> dict[str, str]:
        found = {name: value for name, value in call.query_pairs if name.startswith("$")}
        for name in found:
            if name not in known:
                self._fail(call, "201", "filter", name)
        return found

    def _natural(self, call: Call, options: Mapping[str, str], name: str, default: int) -> int:
        if name not in options:
            return default
        if not options[name].isdecimal():
            self._fail(call, "201", "filter", options[name])
        return int(options[name])

    def _selected(
        self, call: Call, row: Record, options: Mapping[str, str], names: Mapping[str, str]
    ) -> Record:
        if "$select" not in options:
            return row
        wanted = [each.strip() for each in options["$select"].split(",")]
        for name in wanted:
            if name not in names:
                self._fail(call, "-1000", "property", name, _entity(names))
        return {name: row[name] for name in wanted}

    def _ordered(self, call: Call, rows: list[Record], asked: str, names: Mapping[str, str]) -> list[Record]:
        for part in reversed([each.split() for each in asked.split(",") if each.strip()]):
            name, way = part[0], part[1] if len(part) > 1 else "asc"
            if names.get(name, "list") == "list" or way not in ("asc", "desc") or len(part) > 2:
                self._fail(call, "201", "filter", " ".join(part))
            rows = sorted(rows, key=_sort_key(name), reverse=way == "desc")
        return rows

    def _read_filter(self, call: Call, text: str, names: Mapping[str, str]) -> Test:
        """Comparisons joined by and, or, not and brackets, and the three text functions; the rest of OData is refused."""
        tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            if (found := _TOKEN.match(text, at)) is None:
                self._fail(call, "201", "filter", text[at:].strip()[:20])
            tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()
        tokens.append(("end", "the end"))

        def wrong() -> NoReturn:
            self._fail(call, "201", "filter", tokens[0][1])

        def take(value: str) -> None:
            if tokens[0][1] != value:
                wrong()
            tokens.pop(0)

        def name_of() -> str:
            group, name = tokens.pop(0)
            if group != "word" or names.get(name, "list") == "list":
                self._fail(call, "201", "property", name, _entity(names))
            return name

        def either() -> Test:
            parts: list[Test] = [both()]
            while tokens[0] == ("word", "or"):
                tokens.pop(0)
                parts.append(both())
            return lambda row: any(each(row) for each in parts)

        def both() -> Test:
            parts: list[Test] = [single()]
            while tokens[0] == ("word", "and"):
                tokens.pop(0)
                parts.append(single())
            return lambda row: all(each(row) for each in parts)

        def single() -> Test:
            if tokens[0] == ("word", "not"):
                tokens.pop(0)
                inner = single()
                return lambda row: not inner(row)
            if tokens[0] == ("sign", "("):
                tokens.pop(0)
                inner = either()
                take(")")
                return inner
            if tokens[0][1] in _SEARCH and tokens[1][1] == "(":
                search = _SEARCH[tokens.pop(0)[1]]
                take("(")
                name = name_of()
                take(",")
                if tokens[0][0] != "text":
                    wrong()
                part = _unquoted(tokens.pop(0)[1])
                take(")")
                return lambda row: search(str(row[name] or ""), part)
            name = name_of()
            if tokens[0][1] not in _COMPARE:
                wrong()
            word = tokens.pop(0)[1]
            group, value = tokens[0]
            fits = {"int": ("number",), "number": ("number",), "text": ("text",), "date": ("text", "date")}
            if (group, value) == ("word", "null") and word in ("eq", "ne"):
                tokens.pop(0)
                return lambda row: (row[name] is None) == (word == "eq")
            if group not in fits[names[name]]:
                wrong()
            tokens.pop(0)
            literal: Any = Decimal(value) if group == "number" else _unquoted(value)
            if names[name] == "date":
                if not _DAY.match(literal):
                    wrong()
                # A date has no time here: what is after the T does not narrow the search.
                literal = literal[:10]
            return lambda row: _holds(row[name], _COMPARE[word], literal)

        test = either()
        if tokens[0][0] != "end":
            wrong()
        return test

    def _get_item(self, call: Call) -> Answer:
        item = self.items.get(_text_key(call))
        if item is None:
            self._fail(call, "-2028", "none")
        places: list[Record] = [
            {"WarehouseCode": each, "InStock": float(units), "Committed": float(self._committed(item, each))}
            for each, units in item.on_hand.items()
        ]
        shown = {
            "@odata.context": f"{_HOST}{_ROOT}/$metadata#Items/$entity",
            "ItemCode": item.sku,
            "ItemName": item.title,
            "InventoryItem": _yes(item.is_stock),
            "QuantityOnStock": sum(each["InStock"] for each in places),
            "QuantityOrderedByCustomers": sum(each["Committed"] for each in places),
            "ItemWarehouseInfoCollection": places,
        }
        return Answer(
            200, self._selected(call, shown, self._options(call, ("$select",)), dict.fromkeys(shown, ""))
        )

    def _get_partner(self, call: Call) -> Answer:
        partner = self.partners.get(_text_key(call))
        if partner is None:
            self._fail(call, "-2028", "none")
        return Answer(
            200, {"@odata.context": f"{_HOST}{_ROOT}/$metadata#BusinessPartners/$entity", **partner}
        )

    # ------------------------------------------------------------ orders

    def _order_action(self, act: Callable[[Call | None, _Document, str], None]) -> Handler:
        def handle(call: Call) -> Answer:
            if call.body.strip() not in (b"", b"{}"):
                self._fail(call, "-1000", "body")
            order = self._one(call, _ORDER)
            self._match(call, order)
            act(call, order, "api")
            return Answer(204)

        return handle

    def _match(self, call: Call, paper: _Paper) -> None:
        if call.headers.get("if-match", "*") not in ("*", _etag(paper)):
            self._fail(call, "-2039", "changed")

    def _check_live(self, call: Call | None, order: _Document) -> None:
        if order.is_cancelled:
            self._fail(call, "-5002", "cancelled")
        if not order.is_open:
            self._fail(call, "-5002", "closed")

    def _cancel(self, call: Call | None, order: _Document, by: str) -> None:
        self._check_live(call, order)
        if any(each.used for each in order.lines):
            self._fail(call, "-5002", "drawn")
        self._end(order, "cancel_order", by)

    def _close(self, call: Call | None, order: _Document, by: str) -> None:
        self._check_live(call, order)
        self._end(order, "close_order", by)

    def _end(self, order: _Document, effect: str, by: str) -> None:
        """The order ends; what was still committed to it becomes available. Stock on hand does not move."""
        freed = [(each, each.left) for each in order.lines if order.is_line_open(each)]
        if effect == "cancel_order":
            order.cancel_status = "csYes"
        order.is_closed = True
        self._touch(order)
        target = _target(order)
        self.book.write(effect, id=str(order.entry), target=target, reference=_reference(order), by=by)
        for line, units in freed:
            self._restocked(order, line, units, moves=False)

    def _update_order(self, call: Call) -> Answer:
        body, order = self._body(call), self._one(call, _ORDER)
        self._match(call, order)
        lines = body.pop("DocumentLines", None)
        for name in body:
            if name in ("CardCode", "DocCurrency", "DocType", "DocDate"):
                self._fail(call, "-5002", "fixed", name)
        self._check_texts(call, body, _DOCUMENT_TEXTS, _ORDER)
        changes = self._changes(call, order, lines) if lines is not None else None
        order.values |= body
        if body:
            note = body.get("Comments", next(iter(body.values())))
            self.book.write("note_order", id=str(order.entry), target=_target(order), reference=note)
        if changes is not None:
            kept, freed = changes
            order.lines = kept
            self.book.write(
                "change_order", id=str(order.entry), target=_target(order), reference=_reference(order)
            )
            for line, units in freed:
                self._restocked(order, line, units, moves=False)
        self._touch(order)
        return Answer(204)

    def _changes(
        self, call: Call, order: _Document, asked: Any
    ) -> tuple[list[_Line], list[tuple[_Line, int]]]:
        """The lines as they will be, and what becomes free by that. Lines that are not named stay, unless replaced."""
        self._check_live(call, order)
        replaces = call.headers.get("b1s-replacecollectionsonpatch", "").lower() == "true"
        changed: dict[int, _Line] = {}
        for at, data in enumerate(self._rows(call, asked, "DocumentLine")):
            line = next((each for each in order.lines if each.num == data.get("LineNum")), None)
            if line is None:
                self._fail(call, "-5002", "row", at, "LineNum")
            new = replace(line, text=str(data.get("FreeText", line.text)))
            if "Quantity" in data:
                new.quantity = self._units(call, data["Quantity"], at)
                if new.quantity < line.used:
                    self._fail(call, "-5002", "drawn")
            new.is_closed = line.is_closed or data.get("LineStatus") == "bost_Close"
            changed[line.num] = new
        gone = [each for each in order.lines if replaces and each.num not in changed]
        if any(each.used for each in gone):
            self._fail(call, "-5002", "drawn")
        kept = [changed.get(each.num, each) for each in order.lines if each not in gone]
        if not kept:
            self._fail(call, "-5002", "lines")
        freed = []
        for line in order.lines:
            after = None if line in gone else changed.get(line.num, line)
            before_units = 0 if line.is_closed else line.left
            after_units = 0 if after is None or after.is_closed else after.left
            if before_units > after_units:
                freed.append((line, before_units - after_units))
        return kept, freed

    # ------------------------------------------------------------ counter documents

    def _creator(self, kind: str) -> Handler:
        def create(call: Call) -> Answer:
            body = self._body(call)
            paper = self._built(call, kind, copy.deepcopy(body))
            is_quiet = "return-no-content" in call.headers.get("prefer", "").lower()
            if kind in self.settings.approval or call.has(Kind.SLOW_PENDING):
                self._draft(paper, body)
                return Answer(204) if is_quiet else self._error(call, "-2028", "none", status=400)
            self._post(paper)
            if call.has(Kind.LATE_FAILURE):
                self.late.append(lambda: self._undo(paper))
            where = {"Location": f"{_HOST}{_ROOT}/{kind}({paper.entry})", "ETag": _etag(paper)}
            if is_quiet:
                return Answer(204, None, where | {"Preference-Applied": "return-no-content"})
            context = f"{_HOST}{_ROOT}/$metadata#{kind}/$entity"
            shown = {"@odata.context": context, "@odata.etag": _etag(paper), **self._show(paper)}
            return Answer(201, shown, where)

        return create

    def _built(self, call: Call | None, kind: str, body: Record) -> _Document | _Payment:
        """The document that the body asks for, checked and not yet posted; its number is given when it is."""
        rows = body.pop("PaymentInvoices" if kind == _OUT else "DocumentLines", None)
        sums = {name: body.pop(name, 0) for name in ("TransferSum", "CashSum")} if kind == _OUT else {}
        self._check_texts(call, body, _PAYMENT_TEXTS if kind == _OUT else _DOCUMENT_TEXTS, kind)
        card = body.get("CardCode", "")
        if card not in self.partners:
            self._fail(call, "-5002", "partner", card)
        today = self.world.clock().date()
        day = self._day(call, body.get("DocDate") or today.isoformat())
        for name in ("DocDueDate", "TaxDate", "TransferDate"):
            self._day(call, body.get(name) or today.isoformat())
        mark = body.get(FIELD)
        if self.settings.rejects_duplicates and mark and self._is_used(kind, mark):
            self._fail(call, "-1116", "twice", mark)
        now, currency = self.world.clock(), body.get("DocCurrency") or ""
        if kind == _OUT:
            payment = _Payment(kind, 0, 0, card, currency or self._currency(card), day, body, now, now)
            self._fill_payment(call, payment, rows, sums)
            return payment
        document = _Document(kind, 0, 0, card, currency, day, body, now, now)
        document.lines = list(self._lines(call, document, rows))
        document.currency = document.currency or self._currency(card)
        return document

    def _lines(self, call: Call | None, document: _Document, rows: Any) -> Iterator[_Line]:
        if not rows:
            self._fail(call, "-5002", "lines")
        drawn: dict[tuple[str, int, int], int] = {}
        for num, data in enumerate(self._rows(call, rows, "DocumentLine")):
            without = data.get("WithoutInventoryMovement", "tNO")
            if without not in ("tYES", "tNO"):
                self._fail(call, "-1000", "kind", without, "WithoutInventoryMovement")
            price = self._number(call, data, "UnitPrice", data.get("Price"))
            tax_code = data.get("TaxCode", data.get("VatGroup"))
            if tax_code is not None and tax_code not in self.settings.tax_codes:
                self._fail(call, "-5002", "row", num, "TaxCode")
            if data.get("BaseType", -1) == -1:
                item = self.items.get(data.get("ItemCode", ""))
                if item is None:
                    self._fail(call, "-5002", "row", num, "ItemCode")
                if price is None or tax_code is None:
                    self._fail(call, "-5002", "row", num, "UnitPrice" if price is None else "TaxCode")
                units = self._units(call, data.get("Quantity", 1), num)
                house = data.get("WarehouseCode", self.settings.warehouses[0])
                line = _Line(num, item.sku, item.title, units, price, tax_code, Decimal(0), house)
            else:
                based, source = self._base(call, document, data, num)
                key = (based.kind, based.entry, source.num)
                open_units = source.left - drawn.get(key, 0)
                units = self._units(call, data.get("Quantity", open_units), num)
                if units > open_units:
                    self._fail(call, "-5002", "much", num, open_units)
                drawn[key] = drawn.get(key, 0) + units
                house = data.get("WarehouseCode", source.warehouse)
                line = replace(
                    source, num=num, quantity=units, warehouse=house, base=key, used=0, is_closed=False
                )
                line.unit = source.unit if price is None else price
                line.tax_code = tax_code or source.tax_code
            if line.warehouse not in self.settings.warehouses:
                self._fail(call, "-5002", "row", num, "WarehouseCode")
            line.tax_percent = Decimal(self.settings.tax_codes[line.tax_code])
            line.is_without_stock = without == "tYES"
            line.text = str(data.get("FreeText", ""))
            yield line

    def _base(
        self, call: Call | None, document: _Document, data: Record, num: int
    ) -> tuple[_Document, _Line]:
        kinds = {_TYPES[each]: each for each in _BASES[document.kind]}
        kind = kinds.get(data["BaseType"], "")
        based = self.papers.get(kind, {}).get(data.get("BaseEntry", -1))
        if based is None:
            self._fail(call, "-5002", "no_base", num)
        source = next((each for each in based.lines if each.num == data.get("BaseLine", -1)), None)
        if source is None:
            self._fail(call, "-5002", "no_base", num)
        if based.card != document.card:
            self._fail(call, "-5002", "card")
        if document.currency not in ("", based.currency):
            self._fail(call, "-5002", "currency")
        document.currency = based.currency
        if based.is_reserve:
            self._fail(call, "-5002", "reserve")
        is_paid_base = kind == _INVOICE and self.settings.can_credit_paid and based.cancel_status == "csNo"
        if not (based.is_open or is_paid_base) or source.is_closed or source.left <= 0:
            self._fail(call, "-5002", "base", num)
        return based, source

    def _fill_payment(self, call: Call | None, payment: _Payment, rows: Any, sums: Record) -> None:
        values = payment.values
        if values.get("DocType") != "rCustomer":
            self._fail(call, "-5002", "doc_type")
        payment.transfer_minor, payment.cash_minor = (
            self._minor(call, sums[name], payment.currency, name) for name in ("TransferSum", "CashSum")
        )
        means = ((payment.transfer_minor, "TransferAccount"), (payment.cash_minor, "CashAccount"))
        if payment.total_minor <= 0 or any(minor and not values.get(name) for minor, name in means):
            self._fail(call, "-5002", "means")
        for _, name in means:
            if values.get(name) and values[name] not in self.settings.accounts:
                self._fail(call, "-5002", "account", values[name])
        for num, data in enumerate(self._rows(call, rows or [], "PaymentInvoice")):
            kind = data.get("InvoiceType", "it_Invoice")
            if kind not in ("it_Invoice", "it_CredItnote"):
                self._fail(call, "-1000", "kind", kind, "InvoiceType")
            memo = self.papers[_CREDIT].get(data.get("DocEntry", -1)) if kind == "it_CredItnote" else None
            if memo is None or not memo.is_open or data.get("InstallmentId", 1) != 1:
                self._fail(call, "-5002", "no_paid", num)
            if memo.card != payment.card:
                self._fail(call, "-5002", "card")
            if memo.currency != payment.currency:
                self._fail(call, "-5002", "currency")
            minor = memo.due_minor
            if "SumApplied" in data:
                minor = self._minor(call, data["SumApplied"], payment.currency, "SumApplied")
            before = sum(each[2] for each in payment.settles if each[1] == memo.entry)
            if not 0 < minor <= memo.due_minor - before:
                self._fail(call, "-5002", "sum")
            payment.settles.append((_CREDIT, memo.entry, minor))
        if sum(minor for _, _, minor in payment.settles) > payment.total_minor:
            self._fail(call, "-5002", "sum")

    def _post(self, paper: _Document | _Payment, by: str = "api") -> None:
        """Gives the number, moves stock and balances, writes the book."""
        self._number_paper(paper)
        if isinstance(paper, _Payment):
            for kind, entry, minor in paper.settles:
                self.papers[kind][entry].paid += minor
                self._touch(self.papers[kind][entry])
            self._write_payment("record_refund", paper, by)
            return
        self.book.write(
            "credit_note" if paper.kind == _CREDIT else "create_return",
            id=str(paper.entry),
            amount_minor=paper.total_minor,
            currency=paper.currency,
            target=self._target_of(paper),
            reference=_reference(paper),
            by=by,
        )
        for line in paper.lines:
            if line.base is not None:
                based, source = self._source(line.base)
                source.used += line.quantity
                self._apply(paper, line, based)
                self._touch(based)
            if self._moves_stock(paper, line):
                self._restocked(paper, line, line.quantity, moves=True)

    def _apply(self, memo: _Document, line: _Line, based: _Document) -> None:
        """A memo on an open invoice takes its sum off what is due there, so that much of it is not left to be paid out."""
        if based.kind == _INVOICE:
            minor = min(memo.net_minor(line) + memo.tax_minor(line), max(based.due_minor, 0))
            based.paid += minor
            memo.paid += minor
            memo.applied[based.entry] = memo.applied.get(based.entry, 0) + minor

    def _draft(self, paper: _Document | _Payment, body: Record) -> None:
        object_kind = paper.kind
        draft = replace(paper, kind=_OUT_DRAFTS if isinstance(paper, _Payment) else _DRAFTS, body=body)
        draft.values = {**draft.values, "DocObjectCode": _OBJECTS.get(object_kind, "bopot_OutgoingPayments")}
        draft.authorization = "Pending"
        self._number_paper(draft)
        self.book.write(
            "create_draft",
            id=str(draft.entry),
            amount_minor=draft.total_minor,
            currency=draft.currency,
            target={"collection": object_kind},
            reference=_reference(draft),
        )

    # ------------------------------------------------------------ undoing

    def _voider(self, kind: str) -> Handler:
        def void(call: Call) -> Answer:
            made = self._void(call, self._one(call, kind), "api")
            context = f"{_HOST}{_ROOT}/$metadata#{kind}/$entity"
            return Answer(200, {"@odata.context": context, "@odata.etag": _etag(made), **self._show(made)})

        return void

    def _void(self, call: Call | None, document: _Document, by: str) -> _Document:
        if document.cancel_status != "csNo":
            self._fail(call, "-5002", "cancelled")
        if any(each.used for each in document.lines):
            self._fail(call, "-5002", "drawn")
        if document.paid > sum(document.applied.values()):
            self._fail(call, "-5002", "closed")
        takes = document.kind in (_RETURN, _CREDIT)
        moving = [each for each in document.lines if self._moves_stock(document, each)]
        for line in moving:
            item = self.items[line.sku]
            if takes and item.is_stock and item.on_hand.get(line.warehouse, 0) < line.quantity:
                self._fail(call, "-10", "stock", line.sku)
        document.cancel_status = "csYes"
        for entry, minor in document.applied.items():
            self.papers[_INVOICE][entry].paid -= minor
            self._touch(self.papers[_INVOICE][entry])
        for line in document.lines:
            # An order does not come back to life when its delivery or invoice goes.
            if line.base is not None and line.base[0] != _ORDER:
                based, source = self._source(line.base)
                source.used -= line.quantity
                self._touch(based)
        self._touch(document)
        own = (document.kind, document.entry)
        lines = [replace(each, base=(*own, each.num)) for each in document.lines]
        made = replace(document, lines=lines, values=dict(document.values), applied={}, version=0)
        made.cancel_status = "csCancellation"
        self._number_paper(made)
        self.book.write(
            _VOIDS[document.kind],
            id=str(document.entry),
            amount_minor=document.total_minor,
            currency=document.currency,
            target=self._target_of(document),
            reference=_reference(document),
            by=by,
        )
        for line in moving:
            if takes:
                self._unstocked(document, line)
            else:
                self._restocked(document, line, line.quantity, moves=True)
        return made

    def _cancel_payment(self, call: Call) -> Answer:
        self._void_payment(call, self._one(call, _OUT), "api")
        return Answer(204)

    def _void_payment(self, call: Call | None, payment: _Payment, by: str) -> None:
        if payment.is_cancelled:
            self._fail(call, "-5002", "cancelled")
        payment.cancel_status = "csYes"
        for kind, entry, minor in payment.settles:
            self.papers[kind][entry].paid -= minor
            self._touch(self.papers[kind][entry])
        self._touch(payment)
        self._write_payment("cancel_refund_record", payment, by)

    def _undo(self, paper: _Document | _Payment) -> Record:
        """What an accountant does later; a paper that was undone or built upon meanwhile stays as it is."""
        with contextlib.suppress(RefusalError):
            if isinstance(paper, _Payment):
                self._void_payment(None, paper, "staff")
            else:
                self._void(None, paper, "staff")
        return self._show(paper)

    # ------------------------------------------------------------ stock, book, numbers

    def _committed(self, item: _Item, warehouse: str) -> int:
        return sum(
            line.left
            for order in self.papers[_ORDER].values()
            for line in order.lines
            if line.sku == item.sku and line.warehouse == warehouse and order.is_line_open(line)
        )

    def _moves_stock(self, document: _Document, line: _Line) -> bool:
        """Whether the line itself moved goods, or only repeats what its base did."""
        repeats = {_INVOICE: _DELIVERY, _CREDIT: _RETURN}.get(document.kind)
        return not line.is_without_stock and (line.base is None or line.base[0] != repeats)

    def _restocked(self, document: _Document, line: _Line, units: int, *, moves: bool) -> None:
        """Units of a stock item became available: `moves` says that they came in, else they were set free."""
        item = self.items[line.sku]
        if item.is_stock:
            if moves:
                item.on_hand[line.warehouse] = item.on_hand.get(line.warehouse, 0) + units
            self._write_stock("restock", document, line, units)

    def _unstocked(self, document: _Document, line: _Line) -> None:
        item = self.items[line.sku]
        if item.is_stock:
            item.on_hand[line.warehouse] -= line.quantity
            self._write_stock("unstock", document, line, line.quantity)

    def _write_stock(self, effect: str, document: _Document, line: _Line, units: int) -> None:
        order = document if document.kind == _ORDER else self._root(line) or self._order_of(document)
        self.book.write(
            effect,
            id=f"{document.kind}({document.entry})/{line.num}",
            target=_target(order) if order is not None else {"order": None, "number": document.number},
            reference=_reference(document),
            sku=line.sku,
            quantity=units,
            warehouse=line.warehouse,
        )

    def _write_payment(self, effect: str, payment: _Payment, by: str) -> None:
        memos = [self.papers[kind][entry] for kind, entry, _ in payment.settles]
        target = self._target_of(memos[0]) if memos else {"order": None}
        self.book.write(
            effect,
            id=str(payment.entry),
            amount_minor=payment.total_minor,
            currency=payment.currency,
            target={**target, "credit_notes": [str(each.entry) for each in memos], "customer": payment.card},
            reference=_reference(payment),
            by=by,
        )

    def _source(self, base: tuple[str, int, int]) -> tuple[_Document, _Line]:
        document = self.papers[base[0]][base[1]]
        return document, next(each for each in document.lines if each.num == base[2])

    def _root(self, line: _Line) -> _Document | None:
        """The order that the line was copied from, over however many documents; None where it has no base."""
        while line.base is not None:
            document, line = self._source(line.base)
            if document.kind == _ORDER:
                return document
        return None

    def _order_of(self, document: _Document) -> _Document | None:
        """The order that a document follows: the root of its lines, or the partner's only one with its `NumAtCard`."""
        if document.kind == _ORDER:
            return document
        for line in document.lines:
            if (order := self._root(line)) is not None:
                return order
        orders = self.papers[_ORDER].values()
        named = [each for each in orders if (each.card, each.number) == (document.card, document.number)]
        return named[0] if document.number and len(named) == 1 else None

    def _target_of(self, document: _Document) -> Record:
        order = self._order_of(document)
        bases = sorted({(line.base[0], line.base[1]) for line in document.lines if line.base is not None})
        shown = [f"{kind}({entry})" for kind, entry in bases]
        if order is None:
            return {"order": None, "number": document.number, "bases": shown}
        return {**_target(order), "bases": shown}

    def _number_paper(self, paper: _Paper, entry: int | None = None, num: int | None = None) -> None:
        known = self.papers[paper.kind]
        paper.entry = entry if entry is not None else max(known, default=0) + 1
        if paper.entry in known:
            raise ValueError(f"{paper.kind}({paper.entry}) exists")
        paper.num = num if num is not None else _FIRST_NUMBER.get(paper.kind, 100) + paper.entry
        paper.created = paper.updated = self.world.clock()
        known[paper.entry] = paper

    def _touch(self, paper: _Paper) -> None:
        paper.version += 1
        paper.updated = self.world.clock()

    def _is_used(self, kind: str, mark: str) -> bool:
        return any(
            each.values.get(FIELD) == mark and each.cancel_status == "csNo"
            for each in self.papers[kind].values()
        )

    def _currency(self, card: str) -> str:
        orders = [each for each in self.papers[_ORDER].values() if each.card == card]
        return orders[-1].currency if orders else "EUR"

    # ------------------------------------------------------------ bodies read

    def _check_texts(self, call: Call | None, body: Record, known: Mapping[str, int], kind: str) -> None:
        entity = "Payment" if kind == _OUT else "Document"
        own = self.settings.payment_fields if kind == _OUT else self.settings.document_fields
        for name, value in body.items():
            if name not in known and name not in own:
                self._fail(call, "-1000", "property", name, entity)
            if value is not None and not isinstance(value, str):
                self._fail(call, "-1000", "type", name)
            if value is not None and len(value) > known.get(name, 50):
                self._fail(call, "-1000", "long", name)

    def _rows(self, call: Call | None, rows: Any, entity: str) -> Iterator[Record]:
        """The rows of a body, their names and types checked; what is null is left out."""
        known = _ROW_NAMES[entity]
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            self._fail(call, "-1000", "type", f"{entity}s")
        for data in rows:
            for name, value in data.items():
                if name not in known:
                    self._fail(call, "-1000", "property", name, entity)
                kinds = {"int": (int,), "number": (int, Decimal), "text": (str,)}[known[name]]
                if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
                    self._fail(call, "-1000", "type", name)
            yield {name: value for name, value in data.items() if value is not None}

    def _number(self, call: Call | None, data: Record, name: str, default: Any) -> Decimal | None:
        value = data.get(name, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value < _MOST:
            self._fail(call, "-1000", "type", name)
        return Decimal(value)

    def _units(self, call: Call | None, value: Any, at: int) -> int:
        number = self._number(call, {"Quantity": value}, "Quantity", None)
        if number is None or number <= 0 or number != int(number):
            self._fail(call, "-5002", "quantity", at)
        return int(number)

    def _minor(self, call: Call | None, value: Any, currency: str, name: str) -> int:
        number = self._number(call, {name: value}, name, None)
        try:
            return Money.from_major(number if number is not None else Decimal(0), currency).minor
        except ValueError:
            self._fail(call, "-1000", "type", name)

    def _day(self, call: Call | None, text: str) -> date:
        try:
            day = datetime.fromisoformat(text).date()
        except ValueError:
            self._fail(call, "-5002", "date", text)
        if day.isoformat() <= self.settings.locked_until:
            self._fail(call, "-5002", "date", text)
        return day

    # ------------------------------------------------------------ answers shown

    def _show(self, paper: _Paper) -> Record:
        values = paper.values
        shown: Record = {
            "DocEntry": paper.entry,
            "DocNum": paper.num,
            "DocDate": paper.day.isoformat(),
            "TaxDate": values.get("TaxDate") or paper.day.isoformat(),
            "CardCode": paper.card,
            "CardName": self.partners[paper.card]["CardName"],
            "DocCurrency": paper.currency,
            "DocRate": 1.0,
            "Reference1": values.get("Reference1", str(paper.num)),
            "Reference2": values.get("Reference2"),
            "Cancelled": _yes(paper.is_cancelled),
            "CancelStatus": paper.cancel_status,
        }
        if isinstance(paper, _Payment):
            shown |= self._show_payment(paper)
            return shown | {name: values.get(name) for name in self.settings.payment_fields}
        assert isinstance(paper, _Document)
        shown |= {
            "DocType": "dDocument_Items",
            "DocDueDate": values.get("DocDueDate") or paper.day.isoformat(),
            "NumAtCard": values.get("NumAtCard"),
            "Comments": values.get("Comments"),
            "JournalMemo": values.get("JournalMemo"),
            "DocObjectCode": values.get("DocObjectCode") or _OBJECTS[paper.kind],
            "DocTotal": _major(paper.total_minor, paper.currency),
            "DocTotalFc": 0.0,
            "VatSum": _major(sum(paper.tax_minor(each) for each in paper.lines), paper.currency),
            "PaidToDate": _major(paper.paid, paper.currency),
            "PaidToDateFC": 0.0,
            "DiscountPercent": 0.0,
            "DocumentStatus": "bost_Open" if paper.is_open else "bost_Close",
            "AuthorizationStatus": f"das{paper.authorization}",
            "ReserveInvoice": _yes(paper.is_reserve),
            "DraftKey": None,
            "DocTime": paper.created.strftime("%H:%M:%S"),
            "CreationDate": paper.created.date().isoformat(),
            "UpdateDate": paper.updated.date().isoformat(),
            "UpdateTime": paper.updated.strftime("%H:%M:%S"),
            "CancelDate": paper.updated.date().isoformat() if paper.is_cancelled else None,
            "DocumentLines": [self._show_line(paper, each) for each in paper.lines],
        }
        return shown | {name: values.get(name) for name in self.settings.document_fields}

    def _show_line(self, document: _Document, line: _Line) -> Record:
        base = line.base
        net, tax = document.net_minor(line), document.tax_minor(line)
        return {
            "LineNum": line.num,
            "ItemCode": line.sku,
            "ItemDescription": line.title,
            "Quantity": float(line.quantity),
            "Price": float(line.unit),
            "UnitPrice": float(line.unit),
            "PriceAfterVAT": float(line.unit * (100 + line.tax_percent) / 100),
            "Currency": document.currency,
            "DiscountPercent": 0.0,
            "WarehouseCode": line.warehouse,
            "BaseType": _TYPES[base[0]] if base is not None else -1,
            "BaseEntry": base[1] if base is not None else None,
            "BaseLine": base[2] if base is not None else None,
            "TaxCode": line.tax_code,
            "TaxPercentagePerRow": float(line.tax_percent),
            "LineTotal": _major(net, document.currency),
            "TaxTotal": _major(tax, document.currency),
            "LineStatus": "bost_Open" if document.is_line_open(line) else "bost_Close",
            "RemainingOpenQuantity": float(line.left),
            "WithoutInventoryMovement": _yes(line.is_without_stock),
            "FreeText": line.text,
            "DocEntry": document.entry,
        }

    def _show_payment(self, payment: _Payment) -> Record:
        texts = ("TransferAccount", "CashAccount", "TransferReference", "CounterReference")
        return {
            "DocType": "rCustomer",
            **{name: payment.values.get(name) for name in (*texts, "Remarks", "JournalRemarks")},
            "TransferDate": payment.values.get("TransferDate") or payment.day.isoformat(),
            "TransferSum": _major(payment.transfer_minor, payment.currency),
            "CashSum": _major(payment.cash_minor, payment.currency),
            "DocObjectCode": "bopot_IncomingPayments" if payment.kind == _IN else "bopot_OutgoingPayments",
            "AuthorizationStatus": f"pas{payment.authorization}",
            "PaymentInvoices": [
                {
                    "LineNum": num,
                    "DocEntry": entry,
                    "InvoiceType": "it_CredItnote" if kind == _CREDIT else "it_Invoice",
                    "SumApplied": _major(minor, payment.currency),
                    "InstallmentId": 1,
                }
                for num, (kind, entry, minor) in enumerate(payment.settles)
            ],
        }

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        try:
            self.settings = replace(self.settings, **data.get("settings", {}))
            items = [self._seed_item(each) for each in data.get("items", ())]
            return {
                "items": [self._stock_of(each) for each in items],
                "orders": [self._seed_order(each) for each in data.get("orders", ())],
            }
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed {self.name}: {wrong}") from wrong

    def _seed_item(self, described: Record, stock: int = 10) -> _Item:
        sku = str(described["sku"])
        item = self.items.setdefault(sku, _Item(sku, str(described.get("title", sku))))
        item.is_stock = described.get("is_stock", item.is_stock)
        house = described.get("warehouse", "01")
        if house not in self.settings.warehouses:
            self.settings.warehouses = [*self.settings.warehouses, house]
        item.on_hand[house] = described.get("stock", item.on_hand.get(house, stock if item.is_stock else 0))
        return item

    def _seed_order(self, described: Record) -> Record:
        currency, card = described.get("currency", "EUR").upper(), self._seed_partner(described)
        created = datetime.fromisoformat(described.get("created") or self.world.clock().isoformat())
        values = {"NumAtCard": described.get("number", ""), "Comments": described.get("comments")}
        values |= {name: value for name, value in described.items() if name.startswith("U_")}
        order = _Document(_ORDER, 0, 0, card, currency, created.date(), values, created, created)
        rows = list(described["lines"])
        if described.get("shipping_minor"):
            shipped = int(any(each.get("shipped") for each in rows))
            shipping = {"sku": "SHIPPING", "title": "Shipping", "unit_minor": described["shipping_minor"]}
            rows.append({**shipping, "is_stock": False, "shipped": shipped})
        shipped_units = {}
        for at, row in enumerate(rows):
            item = self._seed_item(row)
            taken = [each.num for each in order.lines]
            tax, num = (
                row.get("tax_code", "EX"),
                int(row.get("id", at if at not in taken else max(taken) + 1)),
            )
            unit = Decimal(row["unit_minor"]).scaleb(-exponent_of(currency))
            percent, house = Decimal(self.settings.tax_codes[tax]), row.get("warehouse", "01")
            units, title = row.get("quantity", 1), row.get("title", item.title)
            order.lines.append(_Line(num, item.sku, title, units, unit, tax, percent, house))
            shipped_units[num] = row.get("shipped", 0)
        self._number_paper(order, described.get("id"), described.get("doc_num"))
        order.created = order.updated = created
        if any(shipped_units.values()):
            self._deliver(order, shipped_units, described.get("delivery_id"))
        if described.get("is_invoiced"):
            self._invoice(order, described.get("invoice_id"), is_reserve=bool(described.get("is_reserve")))
        payments = [self._seed_payment(order, each) for each in described.get("payments", ())]
        if described.get("is_cancelled"):
            order.cancel_status, order.is_closed = "csYes", True
        order.is_closed = order.is_closed or bool(described.get("is_closed"))
        return {
            "id": order.entry,
            "doc_num": order.num,
            "number": order.number,
            "customer": card,
            "currency": currency,
            "total_minor": order.total_minor,
            "lines": [{"id": each.num, "sku": each.sku, "quantity": each.quantity} for each in order.lines],
            "deliveries": self._followers(order, _DELIVERY),
            "invoices": self._followers(order, _INVOICE),
            "payments": [each for each in payments if each is not None],
        }

    def _seed_partner(self, described: Record) -> str:
        email = described.get("email")
        known = next(
            (c for c, each in self.partners.items() if email and each.get("EmailAddress") == email), None
        )
        card = str(
            described.get("customer") or known or (f"C{20000 + len(self.partners)}" if email else _CARD)
        )
        partner = self.partners.setdefault(card, {"CardCode": card, "CardName": described.get("name", card)})
        partner |= {"CardType": "cCustomer", "EmailAddress": email or partner.get("EmailAddress")}
        return card

    def _seed_payment(self, order: _Document, described: Record) -> Record | None:
        if not described.get("is_captured", True):
            return None
        reference, gateway = str(described.get("reference", "")), described.get("gateway", "card")
        minor = described.get("amount_minor", order.total_minor)
        invoices = [self.papers[_INVOICE][each] for each in self._followers(order, _INVOICE)]
        payment = self._receive(order.card, order.currency, minor, invoices)
        payment.values |= {"TransferReference": reference[:27], "Remarks": f"{gateway} {reference}"}
        return {"id": payment.entry, "amount_minor": minor, "reference": reference}

    def _receive(self, card: str, currency: str, minor: int, invoices: Sequence[_Document]) -> _Payment:
        """Books what a customer paid; what no invoice takes stays on account."""
        now = self.world.clock()
        values: Record = {"TransferAccount": self.settings.accounts[0]}
        payment = _Payment(_IN, 0, 0, card, currency, now.date(), values, now, now, transfer_minor=minor)
        for invoice in invoices:
            part = min(minor, max(invoice.due_minor, 0))
            if part > 0:
                invoice.paid += part
                minor -= part
                payment.settles.append((_INVOICE, invoice.entry, part))
                self._touch(invoice)
        self._number_paper(payment)
        return payment

    def _followers(self, order: _Document, kind: str) -> list[int]:
        return [e for e, each in self.papers[kind].items() if self._root(each.lines[0]) is order]

    def _follow(self, order: _Document, kind: str, lines: list[_Line], entry: int | None) -> _Document:
        values = {"NumAtCard": order.values.get("NumAtCard")}
        now = self.world.clock()
        made = _Document(kind, 0, 0, order.card, order.currency, now.date(), values, now, now)
        for num, line in enumerate(lines):
            line.num = num
            assert line.base is not None
            based, source = self._source(line.base)
            source.used += line.quantity
            self._touch(based)
        made.lines = lines
        self._number_paper(made, entry)
        return made

    def _deliver(self, order: _Document, units: Mapping[int, int], entry: int | None = None) -> _Document:
        lines = []
        for line in order.lines:
            wanted = units.get(line.num, 0)
            if wanted > line.left:
                raise ValueError(f"line {line.num} has {line.left} units left, not {wanted}")
            if wanted:
                key = (_ORDER, order.entry, line.num)
                lines.append(replace(line, quantity=wanted, base=key, used=0))
        if not lines:
            raise ValueError("nothing is left to deliver")
        return self._follow(order, _DELIVERY, lines, entry)

    def _invoice(self, order: _Document, entry: int | None = None, *, is_reserve: bool = False) -> _Document:
        """Invoices what was delivered, and from the order itself what was not."""
        deliveries = [self.papers[_DELIVERY][each] for each in self._followers(order, _DELIVERY)]
        lines = [
            replace(line, quantity=line.left, base=(source.kind, source.entry, line.num), used=0)
            for source in (*deliveries, order)
            for line in source.lines
            if source.is_line_open(line)
        ]
        if not lines:
            raise ValueError("nothing is left to invoice")
        made = self._follow(order, _INVOICE, lines, entry)
        made.is_reserve = is_reserve
        return made

    def settle(self, data: Record) -> Record:
        try:
            return self._settle(data)
        except RefusalError as refused:
            raise ValueError(refused.answer.body["error"]["message"]) from refused

    def _settle(self, data: Record) -> Record:
        match data:
            case {"order": int(entry), "deliver": units}:
                order = self._known(_ORDER, entry)
                if units is True:
                    wanted = {each.num: each.left for each in order.lines if order.is_line_open(each)}
                else:
                    wanted = {int(num): int(count) for num, count in units.items()}
                self._check_live(None, order)
                return self._left_house(self._deliver(order, wanted))
            case {"order": int(entry), "invoice": True}:
                return self._left_house(self._invoice(self._known(_ORDER, entry)))
            case {"order": int(entry), "cancel": True}:
                order = self._known(_ORDER, entry)
                self._cancel(None, order, "staff")
                return self._show(order)
            case {"order": int(entry), "close": True}:
                order = self._known(_ORDER, entry)
                self._close(None, order, "staff")
                return self._show(order)
            case {"invoice": int(entry), "pay_minor": int(minor)}:
                invoice = self._known(_INVOICE, entry)
                return self._show(self._receive(invoice.card, invoice.currency, minor, [invoice]))
            case {"payment": int(entry), "cancel": True}:
                payment = self._known(_OUT, entry)
                self._void_payment(None, payment, "staff")
                return self._show(payment)
            case {"credit_note": int(entry), "cancel": True}:
                memo = self._known(_CREDIT, entry)
                self._void(None, memo, "staff")
                return self._show(memo)
            case {"draft": int(entry), "status": str(status)}:
                return self._move_draft(self._known(_DRAFTS, entry), status)
            case {"payment_draft": int(entry), "status": str(status)}:
                return self._move_draft(self._known(_OUT_DRAFTS, entry), status)
            case {"item": str(sku)}:
                if sku not in self.items:
                    raise NoSuchObjectError(f"no item {sku!r} at {self.name}")
                return self._stock_of(self._seed_item({**data, "sku": sku}))
            case {"sessions": "expired"}:
                count = len(self.sessions)
                self.sessions.clear()
                return {"expired": count}
            case _:
                raise ValueError(
                    "settle what? an order, an invoice, a payment, a draft, an item or the sessions"
                )

    def _known(self, kind: str, entry: int) -> Any:
        if entry not in self.papers[kind]:
            raise NoSuchObjectError(f"no {kind}({entry}) at {self.name}")
        return self.papers[kind][entry]

    def _left_house(self, document: _Document) -> Record:
        """Goods leave with it. The stock may fall below zero: the warehouse knows better than the count."""
        for line in document.lines:
            if self._moves_stock(document, line) and self.items[line.sku].is_stock:
                self.items[line.sku].on_hand[line.warehouse] -= line.quantity
        return self._show(document)

    def _move_draft(self, draft: _Document | _Payment, status: str) -> Record:
        if status not in _AUTHORIZATION or draft.authorization not in ("Pending", "Approved"):
            raise ValueError(f"a draft that is {draft.authorization} cannot become {status!r}")
        kind = _CREDIT if draft.values["DocObjectCode"] == _OBJECTS[_CREDIT] else _RETURN
        if status == "generated":
            made = self._built(
                None, _OUT if isinstance(draft, _Payment) else kind, copy.deepcopy(draft.body or {})
            )
            self._post(made, by="staff")
        draft.authorization = _AUTHORIZATION[status]
        if isinstance(draft, _Document):
            draft.is_closed = status == "generated"
        self._touch(draft)
        return self._show(made) if status == "generated" else self._show(draft)

    def _stock_of(self, item: _Item) -> Record:
        committed = sum(self._committed(item, each) for each in item.on_hand)
        stock = sum(item.on_hand.values())
        return {"sku": item.sku, "stock": stock, "committed": committed, "available": stock - committed}


# ---------------------------------------------------------------- small readers


def _cookies(call: Call | None) -> dict[str, str]:
    pairs = (
        each.strip().partition("=") for each in (call.headers.get("cookie", "") if call else "").split(";")
    )
    return {name: value for name, _, value in pairs if name}


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _text_key(call: Call) -> str:
    return unquote(call.ids["id"]).strip("'").replace("''", "'")


def _page_size(call: Call) -> int:
    """How many rows a page has; 0 for all of them."""
    asked = re.search(r"odata\.maxpagesize=(\d+)", call.headers.get("prefer", ""))
    return int(asked[1]) if asked else 20


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def _holds(have: Any, compare: Callable[[Any, Any], bool], literal: Any) -> bool:
    if have is None:
        return compare is operator.ne
    return compare(Decimal(repr(have)) if isinstance(literal, Decimal) else have, literal)


def _sort_key(name: str) -> Callable[[Record], tuple[bool, Any]]:
    return lambda row: (row[name] is not None, row[name] if row[name] is not None else 0)


def _entity(names: Mapping[str, str]) -> str:
    return "Payment" if "TransferSum" in names else "Document"


def _etag(paper: _Paper) -> str:
    # Known to everybody, so no secret: the vendor's tags are hashes of the version too.
    mark = hashlib.sha256(f"{paper.kind}({paper.entry}) {paper.version}".encode()).hexdigest()[:40]
    return f'W/"{mark.upper()}"'


def _reference(paper: _Paper) -> str | None:
    """What the caller wrote to find it again: the user field, else the texts that stand in for it."""
    instead = ("TransferReference", "CounterReference", "Comments", "Remarks")
    # What is written on an order is the customer's.
    for name in (FIELD, *(() if paper.kind == _ORDER else instead)):
        if paper.values.get(name):
            return str(paper.values[name])
    return None


def _target(order: _Document) -> Record:
    return {"order": str(order.entry), "number": order.number, "doc_num": str(order.num)}


def _major(minor: int, currency: str) -> float:
    """Minor units as the JSON number on the wire; inside there are only integers and Decimals."""
    return float(Money(minor, currency).major)


def _whole(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def _yes(value: bool) -> str:
    return "tYES" if value else "tNO"
