"""A practice Zoho Inventory: API v1 under `/inventory/v1/` and `/oauth/v2/token` of its accounts server.

Written from copies of the vendor's published OpenAPI documents (version 1.0.0; copies of 2026-08-22, read
2026-11-25) and the project's notes on its pages about OAuth, errors and limits,
https://www.zoho.com/inventory/api/v1. The vendor publishes no list of error numbers: 1001, 1002, 2006, 4029,
14 and 57 are reported by others, the rest are this file's own. A caller may rely on `code == 0` alone.

Strict about: the word `Zoho-oauthtoken`, age and scopes of tokens, ten tokens in ten minutes,
`organization_id` in every query, parents in the query only, what may be voided, packed, returned, received,
credited and refunded, numbers that exist already, ids as texts of digits. There is no idempotency: what is
sent twice is done twice. Filters of sales returns and packages are ignored without a word.

Who may call: `CLIENT_ID`, `CLIENT_SECRET` and `REFRESH_TOKEN` at the token endpoint (query or form),
`ORGANIZATION_ID`, and `CLEARING_ACCOUNT_ID` or `BANK_ACCOUNT_ID` to refund from. `api_domain` of the answer
leads back to this practice vendor where the caller named a host.

`seed({"settings"?: {…}, "scopes"?: ["salesorders.READ", …], "orders": [{"id"?, "number"?, "reference"? (the
number), "currency"? ("EUR"), "created"? (ISO 8601), "email"?, "customer"? ({"id"?, "name"?}), "status"?
("confirmed"; draft, void, closed), "flag"?, "shipping_minor"?, "lines": [{"id"?, "item_id"?, "sku",
"title"?, "quantity", "unit_minor", "shipped"?, "packed"? (not shipped yet), "stock"? (on hand, 100)}],
"payments"?: [{"id"?, "gateway"?, "amount_minor", "is_captured"? (True), "transaction"?}], "invoice"?: true
| {"id"?, "number"?, "status"? ("sent"; draft, void), "line_ids"?}}]})` answers `{"orders": [{"id",
"number", "customer_id", "lines", "packages", "invoices", "payments"}], "stock": {sku: …}}`. Only captured
payments reach Zoho; they are applied to the invoice, and without one they stay unused. What is seeded is
not in the book. `settings`: see `Settings`.

`settle` takes one of `{"item": sku or id, "stock"?}` (reads or sets the stock), `{"salesorder": id or
number, …}` with `"flag"` (sets it and tells), `"status"` (void, confirmed or closed by hand) or `"ship"` /
`"pack"` (`"all"`, or {sku: units}), `{"salesreturn": id, "status": "approved" | "declined"}`,
`{"creditnote": id, "status": "open" | "void"}`, `{"invoice": id, "paid_minor"}`, `{"token": "expired" |
"revoked"}`.

slow_pending leaves a sales return as a draft that waits for approval, a credit note as a draft.
late_failure brings a voided order back to life, and takes a refund record away again.

Webhooks are a workflow rule of sales orders: `{"salesorder": {…}}` with the secret in a header. Topics, not
part of the body: `salesorder.unfulfilled` and `salesorder.return-eligible` (asking for one of them sets the
flag first), `salesorder.edited` (our own acts too).

Book: `cancel_order`, `restock` (a void frees committed stock, a receive or an adjustment adds to it),
`credit_note`, `record_refund`, `void_invoice`; besides `reopen_order`, `confirm_order`,
`create_sales_return`, `delete_package`, `unapply_payment`, `open_credit_note`, `void_credit_note`,
`delete_refund`, `adjust_inventory` (downward).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from refundflow.domain.money import Money
from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

CLIENT_ID: Final = "1000.PRACTICEINVENTORY"
CLIENT_SECRET: Final = "practice-zoho-secret"  # noqa: S105 (a practice secret, known to everybody)
REFRESH_TOKEN: Final = "1000.practice.refresh"  # noqa: S105 (the same)
ORGANIZATION_ID: Final = "60012345678"
CLEARING_ACCOUNT_ID: Final = "4600000000000000358"
BANK_ACCOUNT_ID: Final = "4600000000000000361"
TOKEN_LIFE_S: Final = 3600
TOKEN_WINDOW: Final = timedelta(minutes=10)
PAGE_SIZE_MOST: Final = 200
FLAGS: Final = ("unfulfilled", "return-eligible")

_T = TypeVar("_T")
_ROOT: Final = "/inventory/v1"
# The scope that each operation needs; changes of status need CREATE, not UPDATE.
_SCOPES: Final[Mapping[str, str]] = {
    "list_sales_orders": "salesorders.READ",
    "get_sales_order": "salesorders.READ",
    "void_sales_order": "salesorders.CREATE",
    "confirm_sales_order": "salesorders.CREATE",
    "list_packages": "packages.READ",
    "get_package": "packages.READ",
    "delete_package": "packages.DELETE",
    "list_invoices": "invoices.READ",
    "get_invoice": "invoices.READ",
    "void_invoice": "invoices.CREATE",
    "list_customer_payments": "customerpayments.READ",
    "get_customer_payment": "customerpayments.READ",
    "list_sales_returns": "salesreturns.READ",
    "get_sales_return": "salesreturns.READ",
    "create_sales_return": "salesreturns.CREATE",
    "receive_sales_return": "salesreturnreceives.CREATE",
    "list_credit_notes": "creditnotes.READ",
    "get_credit_note": "creditnotes.READ",
    "create_credit_note": "creditnotes.CREATE",
    "open_credit_note": "creditnotes.CREATE",
    "void_credit_note": "creditnotes.CREATE",
    "list_refunds": "creditnotes.READ",
    "get_refund": "creditnotes.READ",
    "create_refund": "creditnotes.CREATE",
    "create_adjustment": "inventoryadjustments.CREATE",
    "list_organizations": "settings.READ",
}
# Filters that lists honour; every other one is ignored without a word.
_ORDER_FILTERS: Final = ("salesorder_number", "reference_number", "customer_id", "status", "date")
_INVOICE_FILTERS: Final = (
    *("invoice_number", "reference_number", "customer_name", "customer_id", "email", "status", "date"),
    *("total", "balance"),
)
_PAYMENT_FILTERS: Final = ("customer_name", "reference_number", "date", "amount", "payment_mode")
_NOTE_FILTERS: Final = (
    *("creditnote_number", "reference_number", "customer_name", "customer_id", "status", "date", "total"),
)
_REFUSALS: Final[Mapping[str, tuple[int, str]]] = {
    "void_sales_order": (36101, "The sales order cannot be marked as void."),
    "create_sales_return": (36201, "A sales return can only be created for shipped items."),
    "receive_sales_return": (36202, "The quantity exceeds the receivable quantity."),
    "create_credit_note": (36301, "The credit note cannot be created for these items."),
    "create_refund": (36302, "The refund amount is more than the balance of the credit note."),
    "void_invoice": (36401, "The invoice cannot be marked as void."),
    "create_adjustment": (36601, "The adjustment would leave less than no stock."),
    "delete_package": (36501, "A package that has been shipped cannot be deleted."),
}


@dataclass(slots=True)
class Settings:
    """What the vendor does not promise in writing; the defaults are the readings that hurt a careless caller.

    `token_error_status`: of a refused token call. `tokens_most`: tokens in ten minutes (0: no limit).
    `calls_per_minute`: 0 for no limit; the vendor's is 100. `refusal_status`: 200 makes every business
    refusal a success but for its `code`. `is_second_void_refused`: what a void order answers.
    `is_credited_order_voidable`: whether an order may be voided once all that was invoiced is credited.
    `is_stock_freed_by_credit`: whether crediting unshipped lines frees their stock. `is_note_number_kept`
    and `is_return_number_kept`: whether a number sent without `ignore_auto_number_generation` counts.
    `is_orphan_return_made`: a return without parent in the query is made for no order, else refused.
    `is_note_applied`: a note made from an invoice that is not paid lowers the invoice's balance first.
    `is_note_draft`: notes begin as drafts. `is_order_filtered`: whether sales order lists honour filters;
    `is_filtered_by_modified`: also `last_modified_time`. `are_invoice_amounts_text`: totals of invoices as
    the published description types them. `flag_place`: custom_field, or status of the webhook's body.
    `is_webhook_signed`: adds `X-Zoho-Webhook-Signature`, HMAC-SHA256 of the body in hexadecimal.
    """

    token_error_status: int = 200
    tokens_most: int = 10
    calls_per_minute: int = 0
    refusal_status: int = 400
    api_domain: str = ""
    is_second_void_refused: bool = True
    is_credited_order_voidable: bool = False
    is_stock_freed_by_credit: bool = False
    is_note_number_kept: bool = False
    is_return_number_kept: bool = True
    is_orphan_return_made: bool = True
    is_note_applied: bool = True
    is_note_draft: bool = False
    is_order_filtered: bool = True
    is_filtered_by_modified: bool = False
    are_invoice_amounts_text: bool = False
    flag_label: str = "Inventory flag"
    flag_place: str = "custom_field"
    webhook_header: str = "X-Webhook-Secret"
    is_webhook_signed: bool = False


@dataclass(slots=True)
class _Item:
    id: str
    sku: str
    name: str
    on_hand: int


@dataclass(slots=True)
class _Customer:
    id: str
    name: str
    email: str


@dataclass(slots=True)
class _Line:
    """`packed`: units in packages, shipped ones too. `freed`: unshipped units that a credit note took out."""

    id: str
    item: _Item
    quantity: int
    unit_minor: int
    packed: int = 0
    shipped: int = 0
    freed: int = 0


@dataclass(slots=True)
class _Order:
    id: str
    number: str
    reference: str
    customer: _Customer
    currency: str
    state: str
    created: datetime
    modified: datetime
    lines: list[_Line]
    shipping_minor: int
    flag: str = ""

    @property
    def total_minor(self) -> int:
        return sum(line.quantity * line.unit_minor for line in self.lines) + self.shipping_minor


@dataclass(slots=True)
class _Package:
    id: str
    number: str
    order: _Order
    units: list[tuple[_Line, int]]
    created: datetime
    shipment_id: str = ""


@dataclass(slots=True)
class _Payment:
    """`applied`: minor units by invoice id."""

    id: str
    number: str
    customer: _Customer
    currency: str
    minor: int
    mode: str
    reference: str
    created: datetime
    applied: dict[str, int] = field(default_factory=dict)

    @property
    def unused_minor(self) -> int:
        return self.minor - sum(self.applied.values())


@dataclass(slots=True)
class _InvoiceLine:
    id: str
    line: _Line
    quantity: int


@dataclass(slots=True)
class _Invoice:
    id: str
    number: str
    order: _Order
    state: str
    lines: list[_InvoiceLine]
    shipping_minor: int
    created: datetime
    modified: datetime

    @property
    def total_minor(self) -> int:
        return sum(each.quantity * each.line.unit_minor for each in self.lines) + self.shipping_minor


@dataclass(slots=True)
class _ReturnLine:
    """`line`: None in a return that belongs to no order. `credit_only`: units that will never be received."""

    id: str
    item: _Item
    line: _Line | None
    quantity: int
    credit_only: int
    received: int = 0


@dataclass(slots=True)
class _Return:
    id: str
    number: str
    order: _Order | None
    reason: str
    day: str
    status: str
    lines: list[_ReturnLine]
    created: datetime
    receives: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class _NoteLine:
    id: str
    item: _Item | None
    name: str
    quantity: int
    unit_minor: int
    invoice: _Invoice | None = None
    invoice_line: _InvoiceLine | None = None
    return_line: _ReturnLine | None = None
    is_shipped: bool | None = None
    is_to_stock: bool | None = None


@dataclass(slots=True)
class _Refund:
    id: str
    minor: int
    day: str
    mode: str
    reference: str
    description: str
    account_id: str


@dataclass(slots=True)
class _Note:
    """`state`: draft, open or void; closed follows from the balance. `applied_minor`: gone to the invoice."""

    id: str
    number: str
    reference: str
    customer: _Customer
    currency: str
    day: str
    notes: str
    state: str
    lines: list[_NoteLine]
    invoice: _Invoice | None
    created: datetime
    modified: datetime
    applied_minor: int = 0
    refunds: list[_Refund] = field(default_factory=list)

    @property
    def total_minor(self) -> int:
        return sum(line.quantity * line.unit_minor for line in self.lines)

    @property
    def balance_minor(self) -> int:
        if self.state == "void":
            return 0
        return self.total_minor - self.applied_minor - sum(each.minor for each in self.refunds)

    @property
    def status(self) -> str:
        return "closed" if self.state == "open" and self.balance_minor == 0 else self.state


def fail(code: int, message: str, status: int = 400) -> NoReturn:
    """Ends the call with Zoho's error body."""
    raise RefusalError(Answer(status, {"code": code, "message": message}))


class ZohoInventory(Vendor):
    """One organisation's orders, stock and credit notes; see the module's docstring."""

    name: ClassVar[str] = "zoho-inventory"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        order, package, invoice = (
            f"{_ROOT}/salesorders/{{id}}",
            f"{_ROOT}/packages/{{id}}",
            f"{_ROOT}/invoices/{{id}}",
        )
        returned, note = f"{_ROOT}/salesreturns/{{id}}", f"{_ROOT}/creditnotes/{{id}}"
        self._routes = (
            Route("POST", "/oauth/v2/token", "token", self._token, is_open=True),
            Route("GET", f"{_ROOT}/organizations", "list_organizations", self._list_organizations),
            Route("GET", f"{_ROOT}/salesorders", "list_sales_orders", self._list_orders),
            Route("GET", order, "get_sales_order", self._get_order),
            Route("POST", f"{order}/status/void", "void_sales_order", self._void_order),
            Route("POST", f"{order}/status/confirmed", "confirm_sales_order", self._confirm_order),
            Route("GET", f"{_ROOT}/packages", "list_packages", self._list_packages),
            Route("GET", package, "get_package", self._get_package),
            Route("DELETE", package, "delete_package", self._delete_package),
            Route("GET", f"{_ROOT}/invoices", "list_invoices", self._list_invoices),
            Route("GET", invoice, "get_invoice", self._get_invoice),
            Route("POST", f"{invoice}/status/void", "void_invoice", self._void_invoice),
            Route("GET", f"{_ROOT}/customerpayments", "list_customer_payments", self._list_payments),
            Route("GET", f"{_ROOT}/customerpayments/{{id}}", "get_customer_payment", self._get_payment),
            Route("GET", f"{_ROOT}/salesreturns", "list_sales_returns", self._list_returns),
            Route("POST", f"{_ROOT}/salesreturns", "create_sales_return", self._create_return),
            Route("GET", returned, "get_sales_return", self._get_return),
            Route("POST", f"{_ROOT}/salesreturnreceives", "receive_sales_return", self._receive_return),
            Route("GET", f"{_ROOT}/creditnotes", "list_credit_notes", self._list_notes),
            Route("POST", f"{_ROOT}/creditnotes", "create_credit_note", self._create_note),
            Route("GET", note, "get_credit_note", self._get_note),
            Route("POST", f"{note}/converttoopen", "open_credit_note", self._open_note),
            Route("POST", f"{note}/void", "void_credit_note", self._void_note),
            Route("GET", f"{note}/refunds", "list_refunds", self._list_refunds),
            Route("POST", f"{note}/refunds", "create_refund", self._create_refund),
            Route("GET", f"{note}/refunds/{{refund}}", "get_refund", self._get_refund),
            Route("POST", f"{_ROOT}/inventoryadjustments", "create_adjustment", self._create_adjustment),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.settings = Settings()
        self._scopes = frozenset({*_SCOPES.values(), "salesorders.UPDATE"})
        self._is_revoked = False
        self._tokens: dict[str, datetime] = {}
        self._window: tuple[datetime, int] | None = None
        self._minute: tuple[datetime, int] | None = None
        self._items: dict[str, _Item] = {}
        self._customers: dict[str, _Customer] = {}
        self._orders: dict[str, _Order] = {}
        self._packages: dict[str, _Package] = {}
        self._payments: dict[str, _Payment] = {}
        self._invoices: dict[str, _Invoice] = {}
        self._returns: dict[str, _Return] = {}
        self._notes: dict[str, _Note] = {}
        self._numbers = 0

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """A live token under the vendor's own word, a scope that fits, and our organisation in the query."""
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        expires = self._tokens.get(value.strip())
        if scheme.lower() != "zoho-oauthtoken" or expires is None or expires <= self.world.clock():
            return self.unauthorised(call)
        if call.operation == "unknown":
            return None
        if _SCOPES[call.operation] not in self._scopes:
            # The same status as a stale token, yet no fresh token will help.
            return _refusal(57, "You are not authorized to perform this operation", 401)
        asked = dict(call.query_pairs).get("organization_id", "")
        if call.operation != "list_organizations" and asked != ORGANIZATION_ID:
            return _refusal(4029, "The organization_id is missing, or you are not part of this organization.")
        return None

    def unauthorised(self, call: Call) -> Answer:
        if call.operation == "token":
            return Answer(self.settings.token_error_status, {"error": "invalid_code"})
        return _refusal(14, "Invalid value passed for authtoken.", 401)

    def refuse(self, call: Call) -> Answer:
        """The fault's `code`: digits are the number, other text the message; its `status` 200 hides the refusal."""
        code, message = _REFUSALS.get(call.operation, (36000, "This operation cannot be performed."))
        said = call.fault.code if call.fault is not None else ""
        if call.operation == "token":
            return Answer(self.settings.token_error_status, {"error": said or "invalid_code"})
        status = 200 if call.fault is not None and call.fault.status == 200 else 400
        if said.isdigit():
            return _refusal(int(said), message, status)
        return _refusal(code, said or message, status)

    def not_found(self, call: Call) -> Answer:
        for route in self._routes:
            if route.match(replace(call, method=route.method)) is not None:
                return _refusal(37, "The HTTP method is not allowed for the requested resource", 405)
        return _refusal(5, "Invalid URL Passed", 404)

    def failure(self, call: Call, status: int) -> Record:
        if call.operation == "token":
            return {"error": "Access Denied" if status == 429 else "server_error", "status": "failure"}
        if status == 429:
            return {"code": 44, "message": "You have exceeded the maximum number of requests per minute."}
        return {"code": 1000, "message": "Internal Error"}

    def begin(self, call: Call) -> Answer | None:
        """Counts the call where the limit per minute is practised."""
        most = self.settings.calls_per_minute
        if not most or call.operation == "token":
            return None
        now = self.world.clock()
        start, count = self._minute or (now, 0)
        if now >= start + timedelta(minutes=1):
            start, count = now, 0
        self._minute = (start, count + 1)
        if count < most:
            return None
        wait_s = str(max(1, 60 - int((now - start).total_seconds())))
        return Answer(429, self.failure(call, 429), {"Retry-After": wait_s})

    def finish(self, call: Call, answer: Answer) -> Answer:
        """A refusal of ours takes the status that is practised; those that faults made keep theirs."""
        is_made = any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.REFUSE))
        if answer.status == 400 and not is_made and call.operation != "token":
            return replace(answer, status=self.settings.refusal_status)
        return answer

    def _token(self, call: Call) -> Answer:
        sent = dict([*call.query_pairs, *call.form_pairs])
        wrong = ""
        if sent.get("client_id") != CLIENT_ID:
            wrong = "invalid_client"
        elif sent.get("client_secret") != CLIENT_SECRET:
            wrong = "invalid_client_secret"
        elif sent.get("grant_type") != "refresh_token":
            wrong = "unsupported_grant_type"
        elif sent.get("refresh_token") != REFRESH_TOKEN or self._is_revoked:
            wrong = "invalid_code"
        if wrong:
            return Answer(self.settings.token_error_status, {"error": wrong})
        now = self.world.clock()
        start, count = self._window or (now, 0)
        if now >= start + TOKEN_WINDOW:
            start, count = now, 0
        if self.settings.tokens_most and count >= self.settings.tokens_most:
            body = {
                "error": "Access Denied",
                "error_description": "Too many tokens were asked for; please try again after some time.",
                "status": "failure",
            }
            return Answer(self.settings.token_error_status, body)
        self._window = (start, count + 1)
        value = self.mint("1000.", 64)
        self._tokens[value] = now + timedelta(seconds=TOKEN_LIFE_S)
        host = call.headers.get("host", "")
        here = f"http://{host}/{self.name}" if host else "https://www.zohoapis.com"
        return Answer(
            200,
            {
                "access_token": value,
                "scope": " ".join(f"ZohoInventory.{scope}" for scope in sorted(self._scopes)),
                "api_domain": self.settings.api_domain or here,
                "token_type": "Bearer",
                "expires_in": TOKEN_LIFE_S,
            },
        )

    # ------------------------------------------------------------ seeding and time

    def seed(self, data: Record) -> Record:
        try:
            self.settings = replace(self.settings, **data.get("settings", {}))
            if "scopes" in data:
                self._scopes = frozenset(each.removeprefix("ZohoInventory.") for each in data["scopes"])
            made = [self._seed_order(each) for each in data.get("orders", ())]
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed zoho-inventory: {type(wrong).__name__}: {wrong}") from wrong
        return {"orders": made, "stock": {item.sku: self._stock(item) for item in self._items.values()}}

    def _seed_order(self, data: Record) -> Record:
        created = _moment(data["created"]) if "created" in data else self.world.clock()
        order_id = self._fresh(data, self._orders)
        number = str(data.get("number", self._next("SO")))
        if any(each.number == number for each in self._orders.values()):
            raise ValueError(f"there is a sales order {number} already")
        state = data.get("status", "confirmed")
        if state not in ("draft", "confirmed", "void", "closed"):
            raise ValueError(f"a sales order is draft, confirmed, void or closed, not {state!r}")
        order = _Order(
            order_id,
            number,
            str(data.get("reference", number)),
            self._seed_customer(data),
            Money(0, data.get("currency", "EUR")).currency,
            state,
            created,
            created,
            [self._seed_line(each) for each in data["lines"]],
            data.get("shipping_minor", 0),
            data.get("flag", ""),
        )
        self._orders[order_id] = order
        for each, line in zip(data["lines"], order.lines, strict=True):
            for name, is_shipped in (("shipped", True), ("packed", False)):
                if units := each.get(name, 0):
                    self._pack(order, [(line, units)], is_shipped=is_shipped)
        payments = [
            self._seed_payment(order, each)
            for each in data.get("payments", ())
            if each.get("is_captured", True)
        ]
        if asked := data.get("invoice"):
            self._seed_invoice(order, {} if asked is True else asked, payments)
        invoices = [each for each in self._invoices.values() if each.order is order]
        return {
            "id": order.id,
            "number": order.number,
            "customer_id": order.customer.id,
            "lines": [
                {"id": line.id, "item_id": line.item.id, "sku": line.item.sku, "stock": line.item.on_hand}
                for line in order.lines
            ],
            "packages": [each.id for each in self._packages.values() if each.order is order],
            "invoices": [
                {
                    "id": each.id,
                    "number": each.number,
                    "total_minor": each.total_minor,
                    "balance_minor": self._balance(each),
                    "lines": [{"id": line.id, "sku": line.line.item.sku} for line in each.lines],
                }
                for each in invoices
            ],
            "payments": [{"id": each.id, "amount_minor": each.minor} for each in payments],
        }

    def _seed_customer(self, data: Record) -> _Customer:
        described = data.get("customer", {})
        email = data.get("email", described.get("email", "ada@customers.example"))
        for known in self._customers.values():
            if known.id == str(described.get("id", "")) or (not described and known.email == email):
                return known
        customer = _Customer(
            self._fresh(described, self._customers), described.get("name", "Ada Practice"), email
        )
        self._customers[customer.id] = customer
        return customer

    def _seed_line(self, data: Record) -> _Line:
        sku = str(data["sku"])
        item = next((each for each in self._items.values() if each.sku == sku), None)
        if item is None:
            item_id = self._fresh({"id": data["item_id"]} if "item_id" in data else {}, self._items)
            item = _Item(item_id, sku, data.get("title", sku), data.get("stock", 100))
            self._items[item_id] = item
        item.on_hand = data.get("stock", item.on_hand)
        used = {line.id: line for order in self._orders.values() for line in order.lines}
        return _Line(self._fresh(data, used), item, data["quantity"], data["unit_minor"])

    def _seed_payment(self, order: _Order, data: Record) -> _Payment:
        payment = _Payment(
            self._fresh(data, self._payments),
            self._next(""),
            order.customer,
            order.currency,
            data["amount_minor"],
            data.get("gateway", "stripe"),
            str(data.get("transaction", "")),
            order.created,
        )
        self._payments[payment.id] = payment
        return payment

    def _seed_invoice(self, order: _Order, data: Record, payments: Iterable[_Payment]) -> None:
        ids = data.get("line_ids", [self._new_id() for _ in order.lines])
        lines = [
            _InvoiceLine(str(id), line, line.quantity) for id, line in zip(ids, order.lines, strict=True)
        ]
        invoice = _Invoice(
            self._fresh(data, self._invoices),
            data.get("number", self._next("INV")),
            order,
            data.get("status", "sent"),
            lines,
            order.shipping_minor,
            order.created,
            order.created,
        )
        if invoice.state not in ("draft", "sent", "void"):
            raise ValueError("an invoice is draft, sent or void; paid follows from the payments")
        self._invoices[invoice.id] = invoice
        if invoice.state == "sent":
            for payment in payments:
                payment.applied[invoice.id] = min(payment.minor, self._balance(invoice))

    def _pack(self, order: _Order, units: Sequence[tuple[_Line, int]], *, is_shipped: bool) -> None:
        for line, count in units:
            if count < 1 or line.packed + count > line.quantity:
                raise ValueError(f"{line.item.sku}: {line.quantity - line.packed} units left to pack")
        for line, count in units:
            line.packed += count
            line.shipped += count if is_shipped else 0
        shipment_id = self._new_id() if is_shipped else ""
        package = _Package(
            self._new_id(), self._next("PKG"), order, list(units), self.world.clock(), shipment_id
        )
        self._packages[package.id] = package

    def settle(self, data: Record) -> Record:
        try:
            return self._settle(data)
        except RefusalError as refused:
            raise ValueError(refused.answer.body["message"]) from refused

    def _settle(self, data: Record) -> Record:
        match data:
            case {"item": str(key)}:
                item = next((each for each in self._items.values() if key in (each.id, each.sku)), None)
                if item is None:
                    raise NoSuchObjectError(f"zoho-inventory has no item {key!r}")
                item.on_hand = int(data.get("stock", item.on_hand))
                return self._stock(item)
            case {"salesorder": str(key)}:
                return self._settle_order(self._named_order(key), data)
            case {"salesreturn": str(key), "status": "approved" | "declined" as status}:
                returned = _named(self._returns, key)
                returned.status = status
                return self._show_return(returned)
            case {"creditnote": str(key), "status": "open" | "void" as status}:
                note = _named(self._notes, key)
                (self._open if status == "open" else self._void)(note)
                return self._show_note(note)
            case {"invoice": str(key), "paid_minor": int(minor)}:
                invoice = _named(self._invoices, key)
                if not 0 < minor <= self._balance(invoice):
                    raise ValueError(f"{self._balance(invoice)} is open on invoice {invoice.number}")
                paid = self._seed_payment(invoice.order, {"amount_minor": minor})
                paid.applied[invoice.id] = minor
                return self._show_invoice(invoice)
            case {"token": "expired" | "revoked" as how}:
                count = len(self._tokens)
                self._tokens.clear()
                self._is_revoked = how == "revoked"
                return {"tokens": count}
            case _:
                raise ValueError(
                    "zoho-inventory settles an item, salesorder, salesreturn, creditnote, invoice or token"
                )

    def _settle_order(self, order: _Order, data: Record) -> Record:
        match data:
            case {"flag": str(flag)}:
                order.flag = flag
                self._touch(order, f"salesorder.{flag}" if flag in FLAGS else "salesorder.edited")
            case {"status": "void"}:
                self._cancel(order, by="person")
            case {"status": "confirmed"}:
                self._confirm(order)
            case {"status": "closed"}:
                order.state = "closed"
                self._touch(order)
            case {"ship": units} | {"pack": units}:
                wanted = {line.item.sku: line.quantity - line.packed for line in order.lines}
                wanted = wanted if units == "all" else units
                chosen = [
                    (line, wanted[line.item.sku]) for line in order.lines if wanted.get(line.item.sku, 0) > 0
                ]
                self._pack(order, chosen, is_shipped="ship" in data)
                if "ship" in data:
                    for line, count in chosen:
                        line.item.on_hand -= count
                self._touch(order)
            case _:
                raise ValueError("a sales order settles by flag, status, ship or pack")
        return self._show_order(order)

    # ------------------------------------------------------------ webhooks

    def event_for(self, topic: str, object_id: str) -> Event:
        order = self._named_order(object_id)
        flag = topic.removeprefix("salesorder.")
        if flag in FLAGS:
            # The rule fires because somebody set the field: whoever looks the order up must find it there.
            order.flag = flag
            order.modified = self.world.clock()
        elif topic != "salesorder.edited":
            raise NoSuchObjectError(f"zoho-inventory sends no {topic!r}")
        return self._event(order, topic)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        headers = {"Content-Type": "application/json", self.settings.webhook_header: secret}
        if self.settings.is_webhook_signed:
            digest = hmac.new(secret.encode(), event.payload, hashlib.sha256).hexdigest()
            headers["X-Zoho-Webhook-Signature"] = digest
        return Delivery(headers, event.payload)

    def _event(self, order: _Order, topic: str) -> Event:
        shown = self._show_order(order)
        if self.settings.flag_place == "status" and order.flag:
            shown["status"] = order.flag
        return Event(self._new_id(), topic, {"salesorder": shown})

    def _touch(self, order: _Order, topic: str = "salesorder.edited") -> None:
        order.modified = self.world.clock()
        self.emit(self._event(order, topic))

    # ------------------------------------------------------------ orders and packages

    def _list_organizations(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        shown = {
            "organization_id": ORGANIZATION_ID,
            "name": "Practice Shop",
            "contact_name": "Ada Practice",
            "email": "shop@practice.example",
            "is_default_org": True,
            "plan_name": "STANDARD",
            "time_zone": "UTC",
            "is_org_active": True,
            "currency_code": "EUR",
            "price_precision": 2,
        }
        return _ok({"organizations": [shown]})

    def _list_orders(self, call: Call) -> Answer:
        rows = []
        for order in self._orders.values():
            shown = self._show_order(order)
            row = {name: value for name, value in shown.items() if not isinstance(value, list)}
            for name in ("quantity", "quantity_invoiced", "quantity_packed", "quantity_shipped"):
                row[name] = sum(line[name] for line in shown["line_items"])
            rows.append({**row, "custom_fields": shown["custom_fields"]})
        since = dict(call.query_pairs).get("last_modified_time", "")
        if since and self.settings.is_filtered_by_modified:
            try:
                start = _moment(since)
            except ValueError:
                fail(2, "Invalid value passed for last_modified_time")
            rows = [row for row in rows if _moment(row["last_modified_time"]) >= start]
        filters = _ORDER_FILTERS if self.settings.is_order_filtered else ()
        return _page(call, "salesorders", rows, filters)

    def _get_order(self, call: Call) -> Answer:
        return _ok({"salesorder": self._show_order(self._order(call.ids["id"]))})

    def _void_order(self, call: Call) -> Answer:
        order = self._order(call.ids["id"])
        if order.state != "void" or self.settings.is_second_void_refused:
            self._cancel(order, by="api")
            if call.has(Kind.LATE_FAILURE):
                self.late.append(lambda: self._revive(order))
        return _ok({}, "The status of the Sales Order has been changed to void.")

    def _cancel(self, order: _Order, *, by: str) -> None:
        """Voids the order; what a confirmed one had committed can be sold again."""
        if order.state not in ("draft", "confirmed"):
            fail(36101, f"A sales order that is {order.state} cannot be marked as void.")
        if any(line.shipped for line in order.lines):
            fail(36102, "Sales orders that have been shipped cannot be marked as void.")
        if any(line.packed for line in order.lines):
            fail(
                36103, "Sales orders that have packages cannot be marked as void. Delete the packages first."
            )
        live = [each for each in self._invoices.values() if each.order is order and each.state != "void"]
        is_let_go = self.settings.is_credited_order_voidable and all(map(self._is_credited, live))
        if live and not is_let_go:
            fail(36104, "Sales orders that have been invoiced cannot be marked as void.")
        freed = [(line, _open_units(line)) for line in order.lines] if order.state == "confirmed" else []
        order.state = "void"
        target = {"order": order.id, "number": order.number}
        self.book.write(
            "cancel_order", id=order.id, currency=order.currency, target=target, by=by, status="void"
        )
        for line, units in freed:
            if units:
                self._restock(line.item, units, line.id, target)
        self._touch(order)

    def _confirm_order(self, call: Call) -> Answer:
        self._confirm(self._order(call.ids["id"]))
        return _ok({}, "Sales order status has been changed to Confirmed.")

    def _confirm(self, order: _Order) -> None:
        if order.state not in ("draft", "void"):
            fail(36105, f"A sales order that is {order.state} cannot be marked as confirmed.")
        effect = "reopen_order" if order.state == "void" else "confirm_order"
        order.state = "confirmed"
        self.book.write(effect, id=order.id, target={"order": order.id, "number": order.number})
        self._touch(order)

    def _revive(self, order: _Order) -> Record:
        if order.state == "void":
            self._confirm(order)
        return self._show_order(order)

    def _list_packages(self, call: Call) -> Answer:
        return _page(call, "packages", [self._show_package(each) for each in self._packages.values()], ())

    def _get_package(self, call: Call) -> Answer:
        return _ok({"package": self._show_package(self._one(self._packages, call.ids["id"], "Package"))})

    def _delete_package(self, call: Call) -> Answer:
        package = self._one(self._packages, call.ids["id"], "Package")
        if package.shipment_id:
            fail(36501, "A package that has been shipped cannot be deleted.")
        for line, count in package.units:
            line.packed -= count
        del self._packages[package.id]
        self.book.write("delete_package", id=package.id, target={"order": package.order.id})
        self._touch(package.order)
        return _ok({}, "The package has been deleted.")

    # ------------------------------------------------------------ invoices and payments

    def _list_invoices(self, call: Call) -> Answer:
        shown = [_without(self._show_invoice(each), "line_items") for each in self._invoices.values()]
        return _page(call, "invoices", shown, _INVOICE_FILTERS)

    def _get_invoice(self, call: Call) -> Answer:
        return _ok({"invoice": self._show_invoice(self._one(self._invoices, call.ids["id"], "Invoice"))})

    def _void_invoice(self, call: Call) -> Answer:
        """Zoho voids a paid invoice too: its payments become customer credits, wanted or not."""
        invoice = self._one(self._invoices, call.ids["id"], "Invoice")
        if invoice.state == "void":
            fail(36401, "The invoice has been marked as void already.")
        live = [each for each in self._notes.values() if each.state != "void"]
        if any(each.invoice is invoice or any(x.invoice is invoice for x in each.lines) for each in live):
            fail(36402, "Invoices to which credit notes are applied cannot be marked as void.")
        order = invoice.order
        target = {"order": order.id, "number": invoice.number, "invoice": invoice.id}
        invoice.state = "void"
        invoice.modified = self.world.clock()
        self.book.write(
            "void_invoice",
            id=invoice.id,
            amount_minor=invoice.total_minor,
            currency=order.currency,
            target=target,
        )
        for payment in self._payments.values():
            if minor := payment.applied.pop(invoice.id, 0):
                self.book.write(
                    "unapply_payment",
                    id=payment.id,
                    amount_minor=minor,
                    currency=payment.currency,
                    target=target,
                )
        self._touch(order)
        return _ok({}, "Invoice status has been changed to Void.")

    def _list_payments(self, call: Call) -> Answer:
        shown = [self._show_payment(each) for each in self._payments.values()]
        return _page(call, "customerpayments", shown, _PAYMENT_FILTERS)

    def _get_payment(self, call: Call) -> Answer:
        return _ok({"payment": self._show_payment(self._one(self._payments, call.ids["id"], "Payment"))})

    # ------------------------------------------------------------ returns

    def _list_returns(self, call: Call) -> Answer:
        shown = [_without(self._show_return(each), "line_items") for each in self._returns.values()]
        return _page(call, "salesreturns", shown, ())

    def _get_return(self, call: Call) -> Answer:
        return _ok({"salesreturn": self._show_return(self._return(call.ids["id"]))})

    def _create_return(self, call: Call) -> Answer:
        data, query = _body(call), dict(call.query_pairs)
        order = None
        if parent := query.get("salesorder_id", ""):
            order = self._order(parent)
            if order.state in ("draft", "void"):
                fail(36203, f"A sales return cannot be created for a sales order that is {order.state}.")
        elif not self.settings.is_orphan_return_made:
            fail(2, "Invalid value passed for salesorder_id")
        lines = [self._read_return_line(order, each) for each in _lines(data)]
        _check_distinct([line.line.id for line in lines if line.line is not None])
        is_own = self.settings.is_return_number_kept or _is_own_number(query, data)
        number = (_text(data, "salesreturn_number") if is_own else "") or self._next("RMA")
        if any(each.number == number for each in self._returns.values()):
            fail(1001, f"The sales return number {number} already exists.")
        made = _Return(
            self._new_id(),
            number,
            order,
            _text(data, "reason", most=500),
            self._day(data, "date"),
            "draft" if call.has(Kind.SLOW_PENDING) else "approved",
            lines,
            self.world.clock(),
        )
        self._returns[made.id] = made
        self.book.write(
            "create_sales_return",
            id=made.id,
            target={"order": order.id if order else None, "number": made.number},
            reference=made.reason,
        )
        return _ok({"salesreturn": self._show_return(made)}, "Return created successfully", 201)

    def _read_return_line(self, order: _Order | None, data: Record) -> _ReturnLine:
        quantity = _count(data, "quantity")
        credit_only = _count(data, "non_receive_quantity", 0) if "non_receive_quantity" in data else 0
        item = self._item(_id(data, "item_id"))
        line = None
        if order is not None:
            wanted = _id(data, "salesorder_item_id")
            line = next((each for each in order.lines if each.id == wanted), None)
            if line is None or line.item is not item:
                fail(2, "Invalid value passed for salesorder_item_id")
            if quantity > line.shipped - self._returned(line):
                fail(36201, "A sales return can only be created for shipped items that are not returned yet.")
        if credit_only > quantity:
            fail(2, "Invalid value passed for non_receive_quantity")
        return _ReturnLine(self._new_id(), item, line, quantity, credit_only)

    def _receive_return(self, call: Call) -> Answer:
        """Goods are back: the only step of a return that raises the stock."""
        data = _body(call)
        returned = self._return(dict(call.query_pairs).get("salesreturn_id", ""))
        if returned.status != "approved":
            fail(36205, f"A sales return that is {returned.status} cannot be received.")
        chosen = []
        for each in _lines(data):
            wanted = _id(each, "line_item_id")
            line = next((known for known in returned.lines if known.id == wanted), None)
            if line is None:
                fail(2, "Invalid value passed for line_item_id")
            units = _count(each, "quantity")
            if units > line.quantity - line.credit_only - line.received:
                fail(36202, "The quantity exceeds the receivable quantity.")
            chosen.append((line, units))
        _check_distinct([line.id for line, _ in chosen])
        notes = _text(data, "notes", most=5000)
        receive = {
            "receive_id": self._new_id(),
            "receive_number": self._next("PR"),
            "date": self._day(data, "date"),
            "notes": notes,
            "line_items": [_show_returned(line, units) for line, units in chosen],
        }
        order_id = returned.order.id if returned.order is not None else None
        target = {"order": order_id, "salesreturn": returned.id, "receive": receive["receive_id"]}
        for line, units in chosen:
            line.received += units
            line.item.on_hand += units
            line_id = line.line.id if line.line is not None else line.id
            self._restock(line.item, units, line_id, target, notes or returned.reason)
        returned.receives.append(receive)
        shown = {**receive, "salesreturn_id": returned.id, "salesreturn_number": returned.number}
        return _ok({"salesreturn": shown}, "Sales Return Receive Created Successfully", 201)

    # ------------------------------------------------------------ credit notes and their refunds

    def _list_notes(self, call: Call) -> Answer:
        shown = [_without(self._show_note(each), "line_items", "invoices") for each in self._notes.values()]
        return _page(call, "creditnotes", shown, _NOTE_FILTERS)

    def _get_note(self, call: Call) -> Answer:
        return _ok({"creditnote": self._show_note(self._note(call))})

    def _create_note(self, call: Call) -> Answer:
        data, query = _body(call), dict(call.query_pairs)
        customer = self._one(self._customers, _id(data, "customer_id"), "Customer")
        day = self._day(data, "date", is_required=True)
        # Only the query makes it a note of that invoice; an id at the top of the body says nothing to Zoho.
        parent = query.get("invoice_id", "")
        invoice = self._one(self._invoices, parent, "Invoice") if parent else None
        if invoice is not None and (invoice.state != "sent" or invoice.order.customer is not customer):
            fail(36303, "The credit note cannot be associated with this invoice.")
        wanted = _text(data, "creditnote_number")
        is_own = _is_own_number(query, data)
        if is_own and not wanted:
            fail(4, "creditnote_number is mandatory")
        number = wanted if wanted and (is_own or self.settings.is_note_number_kept) else self._next("CN")
        if any(each.number == number for each in self._notes.values()):
            fail(1001, f"The credit note number {number} already exists.")
        currency = invoice.order.currency if invoice is not None else self._currency_of(data)
        now = self.world.clock()
        is_draft = self.settings.is_note_draft or data.get("is_draft") is True or call.has(Kind.SLOW_PENDING)
        note = _Note(
            self._new_id(),
            number,
            _text(data, "reference_number"),
            customer,
            currency,
            day,
            _text(data, "notes", most=5000),
            "draft",
            [],
            invoice,
            now,
            now,
        )
        for each in _lines(data):
            # One after the other, so that two lines about the same units are seen together.
            note.lines.append(self._read_note_line(note, each))
        self._notes[note.id] = note
        order = invoice.order if invoice is not None else None
        self.book.write(
            "credit_note",
            id=note.id,
            amount_minor=note.total_minor,
            currency=currency,
            target={
                "order": order.id if order else None,
                "invoice": invoice.id if invoice else None,
                "number": number,
            },
            reference=note.reference,
            status="draft" if is_draft else "open",
        )
        if not is_draft:
            self._open(note, is_new=True)
        return _ok({"creditnote": self._show_note(note)}, "The credit note has been created.", 201)

    def _currency_of(self, data: Record) -> str:
        """The currency of a note without parent: that of its lines' invoices, else the organisation's."""
        for each in _lines(data):
            if (found := self._invoices.get(str(each.get("invoice_id", "")))) is not None:
                return found.order.currency
        return "EUR"

    def _read_note_line(self, note: _Note, data: Record) -> _NoteLine:
        quantity = _count(data, "quantity")
        item = self._item(_id(data, "item_id")) if "item_id" in data else None
        made = _NoteLine(
            self._new_id(), item, _text(data, "name") or (item.name if item else ""), quantity, 0
        )
        if not made.name:
            fail(4, "item_id is mandatory")
        if "invoice_item_id" in data or "salesreturn_item_id" in data:
            self._tie(made, note, data)
        if "rate" in data:
            made.unit_minor = _minor(data["rate"], note.currency, "rate", least=0)
        elif made.invoice_line is not None:
            made.unit_minor = made.invoice_line.line.unit_minor
        else:
            fail(4, "rate is mandatory")
        return made

    def _tie(self, made: _NoteLine, note: _Note, data: Record) -> None:
        """Ties a line to the invoice's and the return's; every node that Zoho asks for must be there."""
        invoice = self._one(self._invoices, _id(data, "invoice_id"), "Invoice")
        wanted = _id(data, "invoice_item_id")
        line = next((each for each in invoice.lines if each.id == wanted), None)
        if line is None or line.line.item is not made.item or invoice.order.customer is not note.customer:
            fail(2, "Invalid value passed for invoice_item_id")
        if note.invoice not in (None, invoice):
            fail(2, "Invalid value passed for invoice_id")
        made.invoice, made.invoice_line = invoice, line
        made.is_shipped = _flag(data, "is_item_shipped")
        mine = [each for each in note.lines if each.invoice_line is line]
        unfinished = sum(each.quantity for each in mine)
        if made.quantity > line.quantity - self._credited(invoice_line=line) - unfinished:
            fail(36304, "The quantity is more than what is left to credit of the invoice's item.")
        if "salesreturn_item_id" not in data:
            if made.is_shipped:
                fail(36305, "Shipped items are credited from a sales return.")
            unshipped = (
                line.line.quantity - line.line.shipped - self._credited(invoice_line=line, unshipped=True)
            )
            if made.quantity > unshipped - sum(each.quantity for each in mine if not each.is_shipped):
                fail(36306, "The quantity is more than what is not shipped of the item.")
            return
        if not made.is_shipped:
            fail(2, "Invalid value passed for is_item_shipped")
        made.is_to_stock = _flag(data, "is_returned_to_stock")
        asked = _id(data, "salesreturn_item_id")
        returned, back = next(
            ((each, row) for each in self._returns.values() for row in each.lines if row.id == asked),
            (None, None),
        )
        if (
            returned is None
            or back is None
            or back.item is not made.item
            or back.line not in (None, line.line)
        ):
            fail(2, "Invalid value passed for salesreturn_item_id")
        if returned.status != "approved":
            fail(36307, f"A sales return that is {returned.status} cannot be credited.")
        made.return_line = back
        most = back.quantity - back.credit_only if made.is_to_stock else back.credit_only
        used = self._credited(return_line=back, is_to_stock=made.is_to_stock)
        same = [x for x in note.lines if x.return_line is back and x.is_to_stock is made.is_to_stock]
        if made.quantity > most - used - sum(each.quantity for each in same):
            fail(
                36308,
                "Receivable and credit-only quantities go on lines of their own, each up to its quantity.",
            )

    def _open(self, note: _Note, *, is_new: bool = False) -> None:
        if note.state != "draft":
            fail(36309, "Only draft credit notes can be converted to open.")
        note.state = "open"
        note.modified = self.world.clock()
        if note.invoice is not None and self.settings.is_note_applied:
            note.applied_minor = min(note.total_minor, self._balance(note.invoice))
        if not is_new:
            self.book.write("open_credit_note", id=note.id, reference=note.reference)
        if not self.settings.is_stock_freed_by_credit:
            return
        for each in note.lines:
            if each.invoice is not None and each.invoice_line is not None and each.is_shipped is False:
                line = each.invoice_line.line
                line.freed += each.quantity
                order = each.invoice.order
                if order.state == "confirmed":
                    target = {"order": order.id, "creditnote": note.id}
                    self._restock(line.item, each.quantity, line.id, target, note.reference)

    def _open_note(self, call: Call) -> Answer:
        self._open(self._note(call))
        return _ok({}, "Status of the credit note has been changed to open.")

    def _void_note(self, call: Call) -> Answer:
        self._void(self._note(call))
        return _ok({}, "The credit note has been marked as void.")

    def _void(self, note: _Note) -> None:
        if note.state == "void" or note.refunds or note.applied_minor:
            fail(36310, "Credit notes that are void, refunded or applied cannot be marked as void.")
        if note.state == "open" and self.settings.is_stock_freed_by_credit:
            for each in note.lines:
                if each.invoice_line is not None and each.is_shipped is False:
                    each.invoice_line.line.freed -= each.quantity
        note.state = "void"
        note.modified = self.world.clock()
        self.book.write(
            "void_credit_note",
            id=note.id,
            amount_minor=note.total_minor,
            currency=note.currency,
            reference=note.reference,
        )

    def _list_refunds(self, call: Call) -> Answer:
        note = self._note(call)
        return _page(call, "creditnote_refunds", [self._show_refund(note, each) for each in note.refunds], ())

    def _get_refund(self, call: Call) -> Answer:
        note = self._note(call)
        found = next((each for each in note.refunds if each.id == call.ids["refund"]), None)
        if found is None:
            fail(1002, "Refund does not exist.", 404)
        return _ok({"creditnote_refund": self._show_refund(note, found)})

    def _create_refund(self, call: Call) -> Answer:
        """Writes a refund down; a second call is a second refund while a balance is left."""
        note, data = self._note(call), _body(call)
        minor = _minor(data.get("amount"), note.currency, "amount", least=1)
        account = _id(data, "from_account_id")
        if account not in (CLEARING_ACCOUNT_ID, BANK_ACCOUNT_ID):
            fail(1002, "Account does not exist.", 404)
        refund = _Refund(
            self._new_id(),
            minor,
            self._day(data, "date", is_required=True),
            _text(data, "refund_mode"),
            _text(data, "reference_number"),
            _text(data, "description", most=500),
            account,
        )
        if note.status != "open":
            fail(36311, f"A credit note that is {note.status} cannot be refunded.")
        if minor > note.balance_minor:
            fail(36302, "The refund amount is more than the balance of the credit note.")
        note.refunds.append(refund)
        note.modified = self.world.clock()
        self._write_refund("record_refund", note, refund)
        if call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self._drop_refund(note, refund))
        shown = self._show_refund(note, refund)
        return _ok(
            {"creditnote_refund": shown}, "The refund information for this credit note has been saved."
        )

    def _drop_refund(self, note: _Note, refund: _Refund) -> Record:
        note.refunds.remove(refund)
        self._write_refund("delete_refund", note, refund)
        return self._show_note(note)

    def _write_refund(self, effect: str, note: _Note, refund: _Refund) -> None:
        invoice = note.invoice
        self.book.write(
            effect,
            id=refund.id,
            amount_minor=refund.minor,
            currency=note.currency,
            target={"creditnote": note.id, "order": invoice.order.id if invoice is not None else None},
            reference=refund.reference,
            description=refund.description,
        )

    # ------------------------------------------------------------ stock

    def _create_adjustment(self, call: Call) -> Answer:
        data = _body(call)
        if data.get("adjustment_type") != "quantity":
            fail(2, "Invalid value passed for adjustment_type")
        reason = _text(data, "reason") or fail(4, "reason is mandatory")
        reference, described = _text(data, "reference_number"), _text(data, "description", most=500)
        day = self._day(data, "date", is_required=True)
        chosen = []
        for each in _lines(data):
            item, units = self._item(_id(each, "item_id")), _count(each, "quantity_adjusted", None)
            if units == 0 or item.on_hand + units < 0:
                fail(36601, "The adjustment would leave less than no stock, or change nothing.")
            chosen.append((item, units))
        _check_distinct([item.id for item, _ in chosen])
        adjustment_id = self._new_id()
        shown = []
        for item, units in chosen:
            line_id = self._new_id()
            item.on_hand += units
            target = {"order": None, "adjustment": adjustment_id}
            if units > 0:
                self._restock(item, units, line_id, target, reference or described)
            else:
                self.book.write(
                    "adjust_inventory",
                    id=line_id,
                    sku=item.sku,
                    quantity=units,
                    target=target,
                    reference=reference or described,
                )
            shown.append(
                {
                    "line_item_id": line_id,
                    "item_id": item.id,
                    "name": item.name,
                    "quantity_adjusted": units,
                    "unit": "pcs",
                }
            )
        made = {
            "inventory_adjustment_id": adjustment_id,
            "date": day,
            "reason": reason,
            "description": described,
            "reference_number": reference,
            "adjustment_type": "quantity",
            "line_items": shown,
            "created_time": _stamp(self.world.clock()),
        }
        return _ok({"inventory_adjustment": made}, "Inventory Adjustment has been added")

    def _restock(
        self, item: _Item, units: int, line_id: str, target: Record, reference: str | None = None
    ) -> None:
        """Notes that units can be sold again; `stock`: what is available afterwards."""
        stock = self._stock(item)["available"]
        self.book.write(
            "restock",
            id=line_id,
            target=target,
            reference=reference,
            sku=item.sku,
            quantity=units,
            stock=stock,
        )

    def _stock(self, item: _Item) -> Record:
        committed = sum(
            _open_units(line)
            for order in self._orders.values()
            if order.state == "confirmed"
            for line in order.lines
            if line.item is item
        )
        available = item.on_hand - committed
        return {**asdict(item), "committed": committed, "available": available}

    # ------------------------------------------------------------ sums over objects

    def _balance(self, invoice: _Invoice) -> int:
        if invoice.state == "void":
            return 0
        paid = sum(each.applied.get(invoice.id, 0) for each in self._payments.values())
        notes = [each for each in self._notes.values() if each.invoice is invoice and each.state == "open"]
        return invoice.total_minor - paid - sum(each.applied_minor for each in notes)

    def _credited(
        self,
        *,
        invoice_line: _InvoiceLine | None = None,
        return_line: _ReturnLine | None = None,
        unshipped: bool = False,
        is_to_stock: bool | None = None,
    ) -> int:
        """Units credited of that line in notes that are not void, of the kind asked for."""
        return sum(
            each.quantity
            for note in self._notes.values()
            if note.state != "void"
            for each in note.lines
            if (invoice_line is None or each.invoice_line is invoice_line)
            and (return_line is None or each.return_line is return_line)
            and not (unshipped and each.is_shipped)
            and is_to_stock in (None, each.is_to_stock)
        )

    def _is_credited(self, invoice: _Invoice) -> bool:
        return all(self._credited(invoice_line=line) >= line.quantity for line in invoice.lines)

    def _returned(self, line: _Line) -> int:
        returns = [each for each in self._returns.values() if each.status != "declined"]
        return sum(row.quantity for each in returns for row in each.lines if row.line is line)

    # ------------------------------------------------------------ finding and naming

    def _one(self, objects: Mapping[str, _T], id: str, kind: str, code: int = 1002) -> _T:
        if not id.isdigit():
            fail(2, f"Invalid value passed for the id of the {kind}")
        if id not in objects:
            fail(code, f"{kind} does not exist.", 404)
        return objects[id]

    def _order(self, id: str) -> _Order:
        return self._one(self._orders, id, "Sales Order")

    def _return(self, id: str) -> _Return:
        return self._one(self._returns, id, "Sales Return")

    def _note(self, call: Call) -> _Note:
        return self._one(self._notes, call.ids["id"], "Credit Note")

    def _item(self, id: str) -> _Item:
        return self._one(self._items, id, "Item", 2006)

    def _named_order(self, key: str) -> _Order:
        for order in self._orders.values():
            if key in (order.id, order.number):
                return order
        raise NoSuchObjectError(f"zoho-inventory has no sales order {key!r}")

    def _new_id(self) -> str:
        """Nineteen digits, more than a double can hold: whoever makes a number of it is found out."""
        return "46" + "".join(random.choices(string.digits, k=16)) + random.choice("13579")

    def _fresh(self, data: Record, taken: Mapping[str, object]) -> str:
        id = str(data.get("id", "")) or self._new_id()
        if not id.isdigit() or id in taken:
            raise ValueError(f"ids are digits, and each is given once: {id!r}")
        return id

    def _next(self, prefix: str) -> str:
        self._numbers += 1
        return f"{prefix}-{self._numbers:05d}" if prefix else str(self._numbers)

    def _day(self, data: Record, name: str, *, is_required: bool = False) -> str:
        value = _text(data, name)
        if not value and not is_required:
            return self.world.clock().date().isoformat()
        try:
            is_day = date.fromisoformat(value).isoformat() == value
        except ValueError:
            is_day = False
        if not is_day:
            fail(2, f"Invalid value passed for {name}")
        return value

    # ------------------------------------------------------------ what answers show

    def _show_order(self, order: _Order) -> Record:
        invoices = [each for each in self._invoices.values() if each.order is order]
        invoiced = {
            line.id: sum(
                row.quantity
                for each in invoices
                if each.state != "void"
                for row in each.lines
                if row.line is line
            )
            for line in order.lines
        }
        status = order.state
        if status == "confirmed" and all(line.shipped == line.quantity for line in order.lines):
            status = "fulfilled"
        customer, currency = order.customer, order.currency
        lines = [
            {
                "line_item_id": line.id,
                **_goods(line.item),
                "description": "",
                "item_order": place,
                "bcy_rate": _number(line.unit_minor, currency),
                "rate": _number(line.unit_minor, currency),
                "quantity": line.quantity,
                "quantity_invoiced": invoiced[line.id],
                "quantity_packed": line.packed,
                "quantity_shipped": line.shipped,
                "unit": "pcs",
                "item_total": _number(line.quantity * line.unit_minor, currency),
                "is_invoiced": invoiced[line.id] >= line.quantity,
            }
            for place, line in enumerate(order.lines)
        ]
        packages = [
            {
                "package_id": each.id,
                "package_number": each.number,
                "status": "shipped" if each.shipment_id else "not_shipped",
                "shipment_id": each.shipment_id,
                "shipment_status": "shipped" if each.shipment_id else "",
            }
            for each in self._packages.values()
            if each.order is order
        ]
        returns = [
            _without(self._show_return(each), "line_items", "salesreturnreceives", "creditnotes")
            for each in self._returns.values()
            if each.order is order
        ]
        fields = []
        if order.flag and self.settings.flag_place == "custom_field":
            fields = [
                {"customfield_id": BANK_ACCOUNT_ID, "label": self.settings.flag_label, "value": order.flag}
            ]
        person = {"contact_person_name": customer.name, "contact_person_email": customer.email}
        return {
            "salesorder_id": order.id,
            "salesorder_number": order.number,
            "reference_number": order.reference,
            "date": order.created.date().isoformat(),
            "status": status,
            **_of(customer),
            "contact_persons_associated": [person],
            "currency_code": currency,
            "exchange_rate": 1,
            "line_items": lines,
            "shipping_charge": _number(order.shipping_minor, currency),
            "adjustment": 0,
            "sub_total": _number(order.total_minor - order.shipping_minor, currency),
            "tax_total": 0,
            "total": _number(order.total_minor, currency),
            "packages": packages,
            "invoices": [
                _without(self._show_invoice(each, is_text=False), "line_items") for each in invoices
            ],
            "salesreturns": returns,
            "custom_fields": fields,
            **_times(order.created, order.modified),
        }

    def _show_package(self, package: _Package) -> Record:
        order = package.order
        return {
            "package_id": package.id,
            "package_number": package.number,
            "salesorder_id": order.id,
            "salesorder_number": order.number,
            **_of(order.customer),
            "date": package.created.date().isoformat(),
            "status": "shipped" if package.shipment_id else "not_shipped",
            "shipment_id": package.shipment_id,
            "total_quantity": str(sum(count for _, count in package.units)),
            "line_items": [
                {"so_line_item_id": line.id, **_goods(line.item), "quantity": count}
                for line, count in package.units
            ],
            **_times(package.created, package.created),
        }

    def _show_invoice(self, invoice: _Invoice, *, is_text: bool | None = None) -> Record:
        order = invoice.order
        balance = self._balance(invoice)
        status = invoice.state
        if status == "sent" and balance < invoice.total_minor:
            status = "partially_paid" if balance else "paid"
        is_text = self.settings.are_invoice_amounts_text if is_text is None else is_text

        def amount(minor: int) -> Any:
            return Money(minor, order.currency).major if is_text else _number(minor, order.currency)

        return {
            "invoice_id": invoice.id,
            "invoice_number": invoice.number,
            "reference_number": order.number,
            "date": invoice.created.date().isoformat(),
            "due_date": invoice.created.date().isoformat(),
            "status": status,
            **_of(order.customer),
            "email": order.customer.email,
            "currency_code": order.currency,
            "exchange_rate": 1,
            "line_items": [
                {
                    "line_item_id": each.id,
                    "item_id": each.line.item.id,
                    "salesorder_item_id": each.line.id,
                    "sku": each.line.item.sku,
                    "name": each.line.item.name,
                    "item_order": place,
                    "rate": _number(each.line.unit_minor, order.currency),
                    "quantity": each.quantity,
                    "item_total": _number(each.quantity * each.line.unit_minor, order.currency),
                }
                for place, each in enumerate(invoice.lines)
            ],
            "shipping_charge": amount(invoice.shipping_minor),
            "total": amount(invoice.total_minor),
            "balance": amount(balance),
            **_times(invoice.created, invoice.modified),
        }

    def _show_payment(self, payment: _Payment) -> Record:
        invoices = [
            {
                "invoice_id": id,
                "invoice_number": self._invoices[id].number,
                "invoice_amount": _number(self._invoices[id].total_minor, payment.currency),
                "amount_applied": _number(minor, payment.currency),
                "balance_amount": _number(self._balance(self._invoices[id]), payment.currency),
            }
            for id, minor in payment.applied.items()
        ]
        return {
            "payment_id": payment.id,
            "payment_number": payment.number,
            "payment_mode": payment.mode,
            "amount": _number(payment.minor, payment.currency),
            "unused_amount": _number(payment.unused_minor, payment.currency),
            "date": payment.created.date().isoformat(),
            "status": "success",
            "reference_number": payment.reference,
            **_of(payment.customer),
            "currency_code": payment.currency,
            "invoices": invoices,
            "created_time": _stamp(payment.created),
        }

    def _show_return(self, returned: _Return) -> Record:
        received = sum(line.received for line in returned.lines)
        receivable = sum(line.quantity - line.credit_only for line in returned.lines)
        notes = [
            note
            for note in self._notes.values()
            if note.state != "void"
            and any(row.return_line in returned.lines for row in note.lines if row.return_line)
        ]
        order = returned.order
        return {
            "salesreturn_id": returned.id,
            "salesreturn_number": returned.number,
            "date": returned.day,
            "reason": returned.reason,
            "salesorder_id": order.id if order is not None else "",
            "salesorder_number": order.number if order is not None else "",
            **(_of(order.customer) if order is not None else {}),
            "salesreturn_status": returned.status,
            "receive_status": "received"
            if received >= receivable
            else ("partially_received" if received else ""),
            "refund_status": "refunded" if any(note.refunds for note in notes) else "",
            "quantity": sum(line.quantity for line in returned.lines),
            "line_items": [
                {
                    **_show_returned(line, line.quantity),
                    "salesorder_item_id": line.line.id if line.line is not None else "",
                    "non_receive_quantity": line.credit_only,
                }
                for line in returned.lines
            ],
            "salesreturnreceives": returned.receives,
            "creditnotes": [
                {
                    "creditnote_id": note.id,
                    "creditnote_number": note.number,
                    "status": note.status,
                    "date": note.day,
                    "total": _number(note.total_minor, note.currency),
                }
                for note in notes
            ],
            "created_time": _stamp(returned.created),
        }

    def _show_note(self, note: _Note) -> Record:
        currency, invoice = note.currency, note.invoice
        lines = []
        for place, each in enumerate(note.lines):
            shown: Record = {
                "line_item_id": each.id,
                "item_id": each.item.id if each.item is not None else "",
                "name": each.name,
                "item_order": place,
                "rate": _number(each.unit_minor, currency),
                "quantity": each.quantity,
            }
            if each.invoice is not None and each.invoice_line is not None:
                shown |= {
                    "invoice_id": each.invoice.id,
                    "invoice_item_id": each.invoice_line.id,
                    "is_item_shipped": each.is_shipped,
                }
            if each.return_line is not None:
                shown |= {
                    "salesreturn_item_id": each.return_line.id,
                    "is_returned_to_stock": each.is_to_stock,
                }
            lines.append(shown)
        credited = []
        if invoice is not None:
            amount = _number(note.applied_minor, currency)
            credited = [{"invoice_id": invoice.id, "invoice_number": invoice.number, "amount": amount}]
        return {
            "creditnote_id": note.id,
            "creditnote_number": note.number,
            "reference_number": note.reference,
            "date": note.day,
            "status": note.status,
            **_of(note.customer),
            "email": note.customer.email,
            "currency_code": currency,
            "total": _number(note.total_minor, currency),
            "balance": _number(note.balance_minor, currency),
            "line_items": lines,
            "invoices": credited,
            "notes": note.notes,
            **_times(note.created, note.modified),
        }

    def _show_refund(self, note: _Note, refund: _Refund) -> Record:
        amount = _number(refund.minor, note.currency)
        return {
            "creditnote_refund_id": refund.id,
            "creditnote_id": note.id,
            "creditnote_number": note.number,
            "date": refund.day,
            "refund_mode": refund.mode,
            "reference_number": refund.reference,
            "description": refund.description,
            "amount": amount,
            "customer_name": note.customer.name,
            "from_account_id": refund.account_id,
        }


# ---------------------------------------------------------------- answers


def _ok(shown: Record, message: str = "success", status: int = 200) -> Answer:
    return Answer(status, {"code": 0, "message": message, **shown})


def _refusal(code: int, message: str, status: int = 400) -> Answer:
    return Answer(status, {"code": code, "message": message})


def _page(call: Call, name: str, rows: list[Record], honoured: Sequence[str]) -> Answer:
    """One page of a list, newest first. A page size above the most is cut down, not refused."""
    query = dict(call.query_pairs)
    page, size = (
        _positive(query, "page", 1),
        min(_positive(query, "per_page", PAGE_SIZE_MOST), PAGE_SIZE_MOST),
    )
    for filter_name in honoured:
        if filter_name in query:
            rows = [row for row in rows if _is_same(row[filter_name], query[filter_name])]
    wanted = query.get("filter_by", "").removeprefix("Status.").lower()
    if honoured and wanted not in ("", "all"):
        rows = [row for row in rows if row.get("status", "").replace("_", "") == wanted]
    column = query.get("sort_column", "created_time")
    if not rows or column not in rows[0]:
        column = "created_time"
    is_up = query.get("sort_order", "D") == "A"
    # Reversed first: of two rows made at the same moment the later one is the newer.
    rows = sorted(rows if is_up else rows[::-1], key=_sort_key(column), reverse=not is_up)
    first = (page - 1) * size
    context = {
        "page": page,
        "per_page": size,
        "has_more_page": len(rows) > first + size,
        "sort_column": column,
        "sort_order": "A" if is_up else "D",
    }
    return _ok({name: rows[first : first + size], "page_context": context})


def _sort_key(column: str) -> Callable[[Record], Any]:
    return lambda row: row.get(column, "")


def _is_same(value: Any, asked: str) -> bool:
    if isinstance(value, str):
        return value == asked
    try:
        return Decimal(str(value)) == Decimal(asked)
    except InvalidOperation:
        return False


def _positive(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not (value.isdigit() and int(value) > 0):
        fail(2, f"Invalid value passed for {name}")
    return int(value)


def _show_returned(line: _ReturnLine, units: int) -> Record:
    return {
        "line_item_id": line.id,
        "item_id": line.item.id,
        "name": line.item.name,
        "unit": "pcs",
        "quantity": units,
    }


def _without(shown: Record, *names: str) -> Record:
    return {name: value for name, value in shown.items() if name not in names}


def _number(minor: int, currency: str) -> float | int:
    """Minor units as the JSON number that the vendor writes; only the wire sees it."""
    text = Money(minor, currency).major
    return float(text) if "." in text else int(text)


def _of(customer: _Customer) -> Record:
    return {"customer_id": customer.id, "customer_name": customer.name}


def _goods(item: _Item) -> Record:
    return {"item_id": item.id, "sku": item.sku, "name": item.name}


def _times(created: datetime, modified: datetime) -> Record:
    return {"created_time": _stamp(created), "last_modified_time": _stamp(modified)}


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


# ---------------------------------------------------------------- reading


def _body(call: Call) -> Record:
    """The JSON object of a call, amounts as Decimals."""
    try:
        data = json.loads(call.body, parse_float=Decimal) if call.content_type == "application/json" else None
    except ValueError:
        data = None
    if not isinstance(data, dict):
        fail(9, "The body is not a JSON object.")
    return data


def _lines(data: Record) -> list[Record]:
    found = data.get("line_items")
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        fail(4, "line_items is mandatory")
    return found


def _text(data: Record, name: str, *, most: int = 100) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        fail(2, f"Invalid value passed for {name}")
    if len(value) > most:
        fail(15, f"Please ensure that {name} has at most {most} characters.")
    return value


def _id(data: Record, name: str) -> str:
    """An id, which is a text of digits: as a JSON number it may have lost its last ones on the way."""
    value = data.get(name)
    if not isinstance(value, str) or not value.isdigit():
        fail(2, f"Invalid value passed for {name}")
    return value


def _flag(data: Record, name: str) -> bool:
    value = data.get(name)
    if not isinstance(value, bool):
        fail(4, f"{name} is mandatory")
    return value


def _count(data: Record, name: str, least: int | None = 1) -> int:
    """Whole units; the practice shop sells nothing by weight."""
    value = data.get(name)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        fail(2, f"Invalid value passed for {name}")
    return value


def _minor(value: Any, currency: str, name: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        fail(2, f"Invalid value passed for {name}")
    try:
        minor = Money.from_major(Decimal(value), currency).minor
    except ValueError:
        fail(2, f"Invalid value passed for {name}")
    if minor < least:
        fail(2, f"Invalid value passed for {name}")
    return minor


def _check_distinct(ids: Sequence[str]) -> None:
    if len(set(ids)) < len(ids):
        fail(2, "Invalid value passed for line_items: the same item is named twice")


def _is_own_number(query: Mapping[str, str], data: Record) -> bool:
    name = "ignore_auto_number_generation"
    return query.get(name) == "true" or data.get(name) is True


def _open_units(line: _Line) -> int:
    """Units that a confirmed order still holds back from sale."""
    return line.quantity - line.shipped - line.freed


def _moment(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _named(objects: Mapping[str, _T], key: str) -> _T:
    if key not in objects:
        raise NoSuchObjectError(f"zoho-inventory has no {key!r} of that kind")
    return objects[key]
