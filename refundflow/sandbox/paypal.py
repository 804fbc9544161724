"""A practice PayPal: Payments v2, order look-up, Customer Disputes v1, Transaction Search v1 and Webhooks v1 under `/paypal/`.

Shapes: the vendor's OpenAPI files (payments 2.5, orders 2.13, disputes 1.10, reporting 1.9, webhooks 1.11) and its developer
documentation, https://developer.paypal.com, read 2026-11-23. Where they are silent, `Habits` names the practised reading; a
rehearsal chooses the other one through `seed({"settings": …})`.

Strict about: tokens (client credentials, 32,400 s, scopes as they were at issue), JSON bodies, amounts as strings with exactly
the currency's decimals (HUF, JPY and TWD have none here, whatever ISO 4217 says), states, what is left, the refund window,
invoice ids used once, open cases and chargebacks. `PayPal-Request-Id` is remembered for 45 days per kind of call once the call
had its effect: a repetition is answered with the *present* state of what the first one made, and another body under the same id
is not noticed. Refused calls leave their id free. Traps: without `Prefer: return=representation` the answer holds no amount; an
unknown body field is ignored, so a misspelt `amount` refunds everything; a refund that is PENDING already counts as refunded;
a refund that changes later is not told by webhook; orders can no longer be read after a while.

`seed({"settings"?: {…}, "balance_minor"?: {"USD": 100000}, "orders": [{"id"?, "number"?, "currency"? ("USD"), "created"?, "email"?,
"custom_id"?, "status"?, "amount_minor"?, "lines"?: [{"sku"?, "title"?, "quantity"?, "unit_minor"}], "shipping_minor"?,
"payments"?: [{"status"?: "COMPLETED" | "PENDING" | "DECLINED" | "FAILED" | "AUTHORISED" | "DENIED", "amount_minor"?, "created"?,
"capture_id"?, "authorization_id"?, "captured_minor"? (of an authorisation), "expires"?, "parent"? (of a reauthorisation),
"reason"? (why PENDING), "custom_id"?, "invoice_id"?, "refund_issue"? (refuses every refund), "refunds"?: [{"amount_minor", "id"?,
"status"?, "custom_id"?, "invoice_id"?}], "dispute"?: {"id"?, "amount_minor"?, "reason"?, "status"?, "stage"?, "channel"?}}]}]})`.
Amounts are ISO 4217 minor units, times ISO 8601 with a zone. Without `payments` the whole order was captured at once. A dispute of
stage INQUIRY comes through PayPal (channel INTERNAL), a later one from the bank (EXTERNAL), unless its channel is given. What
is seeded is history: no book lines, no events. Returned: ids of orders, and per payment of authorisation, capture, refunds, dispute.

`settle` takes `{"refund": id, "status": "COMPLETED" | "FAILED" | "CANCELLED"}`, `{"capture": id, "status": "COMPLETED" | "DECLINED"}`,
`{"capture": id, "dashboard_refund": {"amount_minor", "custom_id"?}}`, `{"capture": id, "open_dispute": {…}}`,
`{"capture": id, "refund_issue": issue | null}`, `{"dispute": id, "status", "stage"?, "outcome"?}`, `{"authorization": id,
"capture_minor": n}`, `{"authorization": id, "status": "VOIDED"}`, `{"order": id, "approval": "reversed"}`, `{"balance_minor": {…}}`,
`{"token": "expired"}` or `{"certificate": "renewed" | "expired" | "foreign"}` (what webhooks are signed with from then on).

Book: `refund` (`by` api, dashboard or accept_claim), `refund_failed`, `refund_canceled`, `void`, `dispute_withdrawn` and
`dispute_reinstated`. The secret of a webhook subscription is its webhook id.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NoReturn, TypeVar
from urllib.parse import urlencode

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from refundflow.domain.money import Money, exponent_of
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

CLIENT_ID: Final = "practice-paypal-client"
CLIENT_SECRET: Final = "practice-paypal-secret"  # noqa: S105 (a practice secret, known to everybody)
TOKEN_LIFE_S: Final = 32_400
KEY_LIFETIME: Final = timedelta(days=45)
ALGORITHM: Final = "SHA256withRSA"
# Simulated events are signed with this literal in place of a webhook id.
SIMULATED_ID: Final = "WEBHOOK_ID"

_Object = TypeVar("_Object")

_SCOPE: Final = "https://uri.paypal.com/services/"
_PAYMENT: Final = "payments/payment"
_AUTHCAPTURE: Final = "payments/payment/authcapture"
_REFUND: Final = "payments/refund"
_READ: Final = "disputes/read-seller"
_UPDATE: Final = "disputes/update-seller"
_WEBHOOKS: Final = "applications/webhooks"
_SEARCH: Final = "reporting/search/read"
# Which scopes, any one of them, an operation wants.
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "get_order": (_PAYMENT, _AUTHCAPTURE),
    "get_authorization": (_AUTHCAPTURE,),
    "void_authorization": (_AUTHCAPTURE,),
    "get_capture": (_AUTHCAPTURE,),
    "refund_capture": (_REFUND,),
    "get_refund": (_REFUND,),
    "list_transactions": (_SEARCH,),
    "list_disputes": (_READ,),
    "get_dispute": (_READ,),
    "accept_claim": (_UPDATE,),
    "provide_evidence": (_UPDATE,),
    **dict.fromkeys(
        [
            "verify_webhook_signature",
            "list_webhook_events",
            "get_webhook_event",
            "resend_webhook_event",
            "simulate_event",
        ],
        (_WEBHOOKS,),
    ),
}
_KEYED: Final = ("refund_capture", "void_authorization")
_CURRENCIES: Final = frozenset(
    [
        *("AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "INR", "JPY"),
        *("MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RUB", "SEK", "SGD", "THB", "TWD", "USD"),
    ]
)
_WHOLE: Final = frozenset({"HUF", "JPY", "TWD"})
_VALUE: Final = re.compile(r"-?[0-9]+|-?[0-9]*\.[0-9]+")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")
_TRANSACTION: Final = re.compile(r"[0-9A-Z_]{1,255}")
_LENGTHS: Final = {"custom_id": 127, "invoice_id": 127, "note_to_payer": 255}
# Name and message of an error by its status; both are fixed words of the published description.
_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."),
    401: (
        "AUTHENTICATION_FAILURE",
        "Authentication failed due to missing authorization header, or invalid authentication credentials.",
    ),
    403: ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
    404: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
    409: ("RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The server does not support the request payload's media type."),
    422: (
        "UNPROCESSABLE_ENTITY",
        "The requested action could not be performed, semantically incorrect, or failed business validation.",
    ),
    429: ("RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."),
    500: ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    503: ("SERVICE_UNAVAILABLE", "Service Unavailable."),
}
# Every other issue is answered with 422.
_STATUS_OF: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        [
            "MISSING_REQUIRED_PARAMETER",
            "INVALID_PARAMETER_SYNTAX",
            "INVALID_PARAMETER_VALUE",
            "INVALID_STRING_LENGTH",
        ],
        400,
    ),
    "INVALID_ACCOUNT_STATUS": 401,
    "PERMISSION_DENIED": 403,
    "INVALID_RESOURCE_ID": 404,
    "PREVIOUS_REQUEST_IN_PROGRESS": 409,
    "RATE_LIMIT_REACHED": 429,
    "INTERNAL_SERVER_ERROR": 500,
}
_REFUSALS: Final = {
    "refund_capture": "REFUND_NOT_ALLOWED",
    "void_authorization": "CANNOT_BE_VOIDED",
    "accept_claim": "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE",
    "provide_evidence": "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE",
}
_REFUND_MOVES: Final[Mapping[str, tuple[str, ...]]] = {
    "PENDING": ("COMPLETED", "FAILED", "CANCELLED"),
    "COMPLETED": ("FAILED",),
    "FAILED": (),
    "CANCELLED": (),
}
_STAGES: Final = ("INQUIRY", "CHARGEBACK", "PRE_ARBITRATION", "ARBITRATION")
_OUTCOMES: Final = (
    *("RESOLVED_BUYER_FAVOUR", "RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT"),
    *("CANCELED_BY_BUYER", "ACCEPTED", "DENIED", "NONE"),
)
_FOR_BUYER: Final = ("RESOLVED_BUYER_FAVOUR", "ACCEPTED")
_DISPUTE_STATES: Final = {
    "OPEN": "OPEN_INQUIRIES",
    "WAITING_FOR_SELLER_RESPONSE": "REQUIRED_ACTION",
    "WAITING_FOR_BUYER_RESPONSE": "REQUIRED_OTHER_PARTY_ACTION",
    "UNDER_REVIEW": "UNDER_PAYPAL_REVIEW",
    "RESOLVED": "RESOLVED",
    "OTHER": "UNDER_PAYPAL_REVIEW",
}
# What is told, with the resource's type and version.
_TOPICS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(
        ["PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.PENDING", "PAYMENT.REFUND.FAILED"], ("refund", "2.0")
    ),
    **{
        f"PAYMENT.CAPTURE.{each}": ("capture", "2.0")
        for each in ("COMPLETED", "PENDING", "DENIED", "DECLINED", "REVERSED")
    },
    "PAYMENT.AUTHORIZATION.VOIDED": ("authorization", "2.0"),
    **{f"CUSTOMER.DISPUTE.{each}": ("dispute", "1.0") for each in ("CREATED", "UPDATED", "RESOLVED")},
    "CHECKOUT.PAYMENT-APPROVAL.REVERSED": ("checkout-order", "2.0"),
}
_SELLER: Final = {"email_address": "shop@example.com", "merchant_id": "2J6QB8YJQSJRJ"}


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing.

    `refund_window_days`: how long after the capture it can be refunded. `order_life_days`: how long after its creation an order
    can be read. `max_refunds`: most refunds of one capture (None: no limit). `key_length`: longest request id. `replay_status`:
    HTTP status of a repeated refund. `is_other_body_refused`: whether another body under a used request id is noticed.
    `is_disputed_full_refund_refused`: whether an open case stops full refunds as it stops partial ones.
    `is_dispute_closed_by_full_refund`. `has_refund_status_events`: whether a refund's later states are told by webhook.
    `is_decimals_exact`: whether "25" and "25.5" dollars are refused. `is_empty_list_absent`: whether a list without entries has
    no list at all. `reporting_delay_s`: age at which a movement shows up in reporting. `scopes`: what tokens are issued with.
    `has_negative_testing`: whether `PayPal-Mock-Response` is obeyed. `public_url`: where links and certificates seem to be.
    """

    refund_window_days: int = 180
    order_life_days: int = 30
    max_refunds: int | None = None
    key_length: int = 108
    replay_status: int = 200
    is_other_body_refused: bool = False
    is_disputed_full_refund_refused: bool = False
    is_dispute_closed_by_full_refund: bool = False
    has_refund_status_events: bool = False
    is_decimals_exact: bool = True
    is_empty_list_absent: bool = True
    reporting_delay_s: int = 10_800
    scopes: Sequence[str] = (_PAYMENT, _AUTHCAPTURE, _REFUND, _READ, _UPDATE, _WEBHOOKS, _SEARCH)
    has_negative_testing: bool = True
    public_url: str = "https://api-m.sandbox.paypal.com"


@dataclass(slots=True)
class _Token:
    scopes: frozenset[str]
    expires: datetime


@dataclass(slots=True)
class _Kept:
    """What is remembered under a request id. `made`: what the call had made, None while it runs; `owner`: the call that runs."""

    at: datetime
    fingerprint: str
    owner: str
    made: _Refund | _Authorization | None = None


@dataclass(slots=True)
class _Order:
    id: str
    number: str
    currency: str
    created: datetime
    amount_minor: int
    email: str
    status: str
    custom_id: str | None
    shipping_minor: int
    lines: list[Record]
    authorizations: list[_Authorization] = field(default_factory=list)
    captures: list[_Capture] = field(default_factory=list)


@dataclass(slots=True)
class _Authorization:
    """`state` is CREATED, PENDING, DENIED or VOIDED; the rest follows from captures and time. `parent`: of a reauthorisation."""

    id: str
    order: _Order
    amount_minor: int
    created: datetime
    updated: datetime
    expires: datetime
    state: str = "CREATED"
    parent: str | None = None

    @property
    def captured_minor(self) -> int:
        return sum(
            each.amount_minor
            for each in self.order.captures
            if each.authorization is self and each.state != "DECLINED"
        )


@dataclass(slots=True)
class _Capture:
    """`state` is COMPLETED, PENDING, DECLINED or FAILED; how much went back follows from the refunds and `reversed_minor`."""

    id: str
    order: _Order
    authorization: _Authorization | None
    amount_minor: int
    created: datetime
    updated: datetime
    state: str
    reason: str
    invoice_id: str | None
    custom_id: str | None
    refund_issue: str | None
    reversed_minor: int = 0
    refunds: list[_Refund] = field(default_factory=list)

    @property
    def refunded_minor(self) -> int:
        return sum(each.amount_minor for each in self.refunds if each.status in ("PENDING", "COMPLETED"))

    @property
    def left_minor(self) -> int:
        return self.amount_minor - self.refunded_minor - self.reversed_minor

    @property
    def status(self) -> str:
        if self.state != "COMPLETED" or self.left_minor == self.amount_minor:
            return self.state
        return "REFUNDED" if self.left_minor == 0 else "PARTIALLY_REFUNDED"


@dataclass(slots=True)
class _Refund:
    """`total_minor`: refunded of the capture up to and with this one."""

    id: str
    capture: _Capture
    amount_minor: int
    total_minor: int
    created: datetime
    updated: datetime
    status: str
    custom_id: str | None
    invoice_id: str | None
    note: str | None
    acquirer_reference: str


@dataclass(slots=True)
class _Dispute:
    id: str
    capture: _Capture
    amount_minor: int
    reason: str
    channel: str
    stage: str
    status: str
    created: datetime
    updated: datetime
    due: datetime
    outcome: str | None = None
    refunded_minor: int = 0
    movements: list[Record] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.status != "RESOLVED"

    @property
    def is_chargeback(self) -> bool:
        """Whether the bank takes the money, or took it: nothing may be refunded."""
        return self.channel == "EXTERNAL" and (self.is_open or self.outcome in _FOR_BUYER)


@dataclass(frozen=True, slots=True)
class _Movement:
    """One line of reporting. `amount_minor`: signed."""

    id: str
    code: str
    at: datetime
    amount_minor: int
    capture: _Capture
    refund: _Refund | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """An event of ours; `about`: every id by which it can be asked for."""

    event: Record
    about: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Certificate:
    id: str
    kind: str
    key: rsa.RSAPrivateKey
    pem: bytes


class PayPal(Vendor):
    """See the module's docstring. `habits`: unwritten behaviour, a rehearsal's to choose."""

    name: ClassVar[str] = "paypal"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        payments, disputes, hooks = "/v2/payments", "/v1/customer/disputes", "/v1/notifications"
        events = f"{hooks}/webhooks-events"
        self._routes = (
            Route("POST", "/v1/oauth2/token", "token", self.token, is_open=True),
            Route("GET", "/v2/checkout/orders/{id}", "get_order", self.get_order),
            Route("GET", f"{payments}/authorizations/{{id}}", "get_authorization", self.get_authorization),
            Route("POST", f"{payments}/authorizations/{{id}}/void", "void_authorization", self.void),
            Route("GET", f"{payments}/captures/{{id}}", "get_capture", self.get_capture),
            Route("POST", f"{payments}/captures/{{id}}/refund", "refund_capture", self.refund),
            Route("GET", f"{payments}/refunds/{{id}}", "get_refund", self.get_refund),
            Route("GET", "/v1/reporting/transactions", "list_transactions", self.list_transactions),
            Route("GET", disputes, "list_disputes", self.list_disputes),
            Route("GET", f"{disputes}/{{id}}", "get_dispute", self.get_dispute),
            Route("POST", f"{disputes}/{{id}}/accept-claim", "accept_claim", self.accept_claim),
            Route("POST", f"{disputes}/{{id}}/provide-evidence", "provide_evidence", self.provide_evidence),
            Route(
                "POST", f"{hooks}/verify-webhook-signature", "verify_webhook_signature", self.verify_signature
            ),
            Route("GET", events, "list_webhook_events", self.list_events),
            Route("GET", f"{events}/{{id}}", "get_webhook_event", self.get_event),
            Route("POST", f"{events}/{{id}}/resend", "resend_webhook_event", self.resend_event),
            Route("POST", f"{hooks}/simulate-event", "simulate_event", self.simulate_event),
            Route("GET", f"{hooks}/certs/{{id}}", "get_certificate", self.get_certificate, is_open=True),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        # Per currency what the shop has left in its account; a currency that is absent has no limit.
        self.balance: dict[str, int] = {}
        self._tokens: dict[str, _Token] = {}
        self._keys: dict[tuple[str, str], _Kept] = {}
        self._orders: dict[str, _Order] = {}
        self._authorizations: dict[str, _Authorization] = {}
        self._captures: dict[str, _Capture] = {}
        self._refunds: dict[str, _Refund] = {}
        self._disputes: dict[str, _Dispute] = {}
        self._movements: list[_Movement] = []
        self._events: dict[str, _Told] = {}
        self._certificates: dict[str, _Certificate] = {}
        self._signing: _Certificate | None = None
        self._certificate_kind = "renewed"

    # ------------------------------------------------------------ at the door

    def token(self, call: Call) -> Answer:
        if _basic(call.headers.get("authorization", "")) != (CLIENT_ID, CLIENT_SECRET):
            return self._oauth_error(call, 401, "invalid_client", "Client Authentication failed")
        is_form = call.content_type == "application/x-www-form-urlencoded"
        if not is_form or dict(call.form_pairs).get("grant_type") != "client_credentials":
            return self._oauth_error(call, 400, "unsupported_grant_type", "This grant type is not offered")
        value = self.mint("A21AA", 92)
        scopes = frozenset(_SCOPE + each for each in self.habits.scopes)
        self._tokens[value] = _Token(scopes, self._now() + timedelta(seconds=TOKEN_LIFE_S))
        shown = {
            "scope": " ".join(sorted(scopes)),
            "access_token": value,
            "token_type": "Bearer",
            "app_id": "APP-80W284485P519543T",
            "expires_in": TOKEN_LIFE_S,
            "nonce": f"{_stamp(self._now())}{self.mint(length=43)}",
        }
        return Answer(200, shown)

    def authorise(self, call: Call) -> Answer | None:
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        token = self._tokens.get(value.strip()) if scheme.lower() == "bearer" else None
        if token is None or token.expires <= self._now():
            return self._problem(call, 401)
        needed = _NEEDS.get(call.operation, ())
        if needed and not token.scopes.intersection(_SCOPE + each for each in needed):
            return self._problem(call, 403, "PERMISSION_DENIED")
        return None

    def unauthorised(self, call: Call) -> Answer:
        if call.operation == "token":
            return self._oauth_error(call, 401, "invalid_client", "Client Authentication failed")
        return self._problem(call, 401, (call.fault.code if call.fault is not None else "") or None)

    def refuse(self, call: Call) -> Answer:
        code = call.fault.code if call.fault is not None else ""
        if call.operation == "token":
            return self._oauth_error(call, 401, code or "invalid_client", "Client Authentication failed")
        return self._issue(call, code or _REFUSALS.get(call.operation, "INVALID_RESOURCE_ID"))

    def not_found(self, call: Call) -> Answer:
        return self._problem(call, 404)

    def failure(self, call: Call, status: int) -> Record:
        name, message = _ERRORS.get(status, _ERRORS[500])
        if call.operation == "token":
            return {"error": name.lower(), "error_description": message}
        body: Record = {"name": name, "message": message, "debug_id": _debug_id(call), "links": []}
        if status == 409:
            body["details"] = [{"issue": "PREVIOUS_REQUEST_IN_PROGRESS"}]
        return body

    def begin(self, call: Call) -> Answer | None:
        """Obeys `PayPal-Mock-Response`, then answers a repeated request id with what its first call made, as it is now."""
        self._mock(call)
        key = call.headers.get("paypal-request-id", "")
        if call.operation not in _KEYED or not key:
            return None
        if len(key) > self.habits.key_length:
            self._fail(call, "INVALID_STRING_LENGTH", "PayPal-Request-Id")
        slot, now = (call.operation, key), self._now()
        kept = self._keys.get(slot)
        if kept is None or (kept.made is not None and now - kept.at >= KEY_LIFETIME):
            self._keys[slot] = _Kept(now, _fingerprint(call), call.request_id)
            return None
        if any(call.has(kind) for kind in (Kind.STATUS, Kind.HTML, Kind.REFUSE_AUTH)):
            # What stands in front of the API answers, whatever the API remembers; see `_repeated`.
            return None
        again = self._repeated(call)
        return None if again is None else self.finish(call, again)

    def finish(self, call: Call, answer: Answer) -> Answer:
        slot = (call.operation, call.headers.get("paypal-request-id", ""))
        kept = self._keys.get(slot)
        if kept is not None and kept.owner == call.request_id and kept.made is None:
            del self._keys[slot]
        return replace(answer, headers={"Paypal-Debug-Id": _debug_id(call), **answer.headers})

    def _mock(self, call: Call) -> None:
        header = call.headers.get("paypal-mock-response", "")
        if not header or not self.habits.has_negative_testing or not call.path.startswith("/v2/payments/"):
            return
        try:
            match json.loads(header):
                case {"mock_application_codes": str(code)}:
                    self._fail(call, code)
        except ValueError:
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "PayPal-Mock-Response")

    def _keep(self, call: Call, made: _Refund | _Authorization) -> None:
        """Remembers at the moment of the effect what was made, so that a lost answer is found again."""
        kept = self._keys.get((call.operation, call.headers.get("paypal-request-id", "")))
        if kept is not None and kept.owner == call.request_id:
            kept.made = made

    def _repeated(self, call: Call) -> Answer | None:
        """The answer to a request id whose first call had its effect; None for a first call."""
        kept = self._keys.get((call.operation, call.headers.get("paypal-request-id", "")))
        if kept is None or kept.owner == call.request_id:
            return None
        if kept.made is None:
            self._fail(call, "PREVIOUS_REQUEST_IN_PROGRESS")
        if self.habits.is_other_body_refused and kept.fingerprint != _fingerprint(call):
            self._fail(call, "PAYPAL_REQUEST_ID_PREVIOUSLY_USED", "PayPal-Request-Id")
        return self._made(call, kept.made, self.habits.replay_status)

    def _made(self, call: Call, made: _Refund | _Authorization, status: int) -> Answer:
        is_whole = "return=representation" in call.headers.get("prefer", "").replace(" ", "").lower()
        if isinstance(made, _Authorization):
            return Answer(200, self._show_authorization(made)) if is_whole else Answer(204)
        shown = self._show_refund(made)
        return Answer(
            status, shown if is_whole else {each: shown[each] for each in ("id", "status", "links")}
        )

    def _problem(
        self, call: Call, status: int, issue: str | None = None, field: str | None = None, value: Any = None
    ) -> Answer:
        name, message = _ERRORS[status]
        body: Record = {"name": name, "message": message, "debug_id": _debug_id(call)}
        if issue is not None:
            detail = {"issue": issue, "description": f"{issue.replace('_', ' ').capitalize()}."}
            if field is not None:
                detail["field"] = field
                if not field.startswith("PayPal-"):
                    detail["location"] = "body" if field.startswith("/") else "query"
            if value is not None:
                detail["value"] = str(value)
            body["details"] = [detail]
        href = f"https://developer.paypal.com/api/rest/responses/#{issue or name}"
        body["links"] = [{"href": href, "rel": "information_link", "method": "GET"}]
        return Answer(status, body, {"Paypal-Debug-Id": _debug_id(call)})

    def _issue(self, call: Call, issue: str, field: str | None = None, value: Any = None) -> Answer:
        return self._problem(call, _STATUS_OF.get(issue, 422), issue, field, value)

    def _fail(self, call: Call, issue: str, field: str | None = None, value: Any = None) -> NoReturn:
        raise RefusalError(self._issue(call, issue, field, value))

    def _oauth_error(self, call: Call, status: int, error: str, description: str) -> Answer:
        body = {"error": error, "error_description": description}
        return Answer(status, body, {"Paypal-Debug-Id": _debug_id(call)})

    # ------------------------------------------------------------ reading

    def get_order(self, call: Call) -> Answer:
        order = self._found(call, self._orders)
        if self._now() - order.created > timedelta(days=self.habits.order_life_days):
            self._fail(call, "INVALID_RESOURCE_ID")
        return Answer(200, self._show_order(order))

    def get_authorization(self, call: Call) -> Answer:
        found = self._found(call, self._authorizations)
        return Answer(200, self._show_authorization(found))

    def get_capture(self, call: Call) -> Answer:
        return Answer(200, self._show_capture(self._found(call, self._captures)))

    def get_refund(self, call: Call) -> Answer:
        return Answer(200, self._show_refund(self._found(call, self._refunds)))

    def list_transactions(self, call: Call) -> Answer:
        """Movements of money, oldest first. The newest are missing: reporting lags behind."""
        query = dict(call.query_pairs)
        since, until = self._time(call, query, "start_date"), self._time(call, query, "end_date")
        if since is None or until is None:
            self._fail(call, "MISSING_REQUIRED_PARAMETER", "start_date" if since is None else "end_date")
        is_window = timedelta(0) <= until - since <= timedelta(days=31)
        if not is_window or self._now() - since > timedelta(days=3 * 365):
            self._fail(call, "INVALID_PARAMETER_VALUE", "start_date", query["start_date"])
        wanted = query.get("transaction_id")
        if wanted is not None and not 17 <= len(wanted) <= 19:
            self._fail(call, "INVALID_STRING_LENGTH", "transaction_id", wanted)
        last = self._now() - timedelta(seconds=self.habits.reporting_delay_s)
        shown = [
            self._show_movement(each)
            for each in sorted(self._movements, key=lambda each: each.at)
            if since <= each.at <= min(until, last) and wanted in (None, each.id)
        ]
        for name in ("transaction_status", "transaction_currency", "transaction_type"):
            if (value := query.get(name)) is not None:
                shown = [each for each in shown if _is_transaction(each["transaction_info"], name, value)]
        size, page = self._whole(call, query, "page_size", 100, 500), self._whole(call, query, "page", 1)
        entries = shown[(page - 1) * size : page * size]
        body: Record = {
            "account_number": _SELLER["merchant_id"],
            "start_date": _stamp(since),
            "end_date": _stamp(min(until, last)) if last >= since else _stamp(since),
            "last_refreshed_datetime": _stamp(last),
            "page": page,
            "total_items": len(shown),
            "total_pages": -(-len(shown) // size),
            "links": [self._link("self", f"/v1/reporting/transactions?{call.query}")],
        }
        return Answer(200, self._listed("transaction_details", entries, body))

    def _found(self, call: Call, objects: Mapping[str, _Object]) -> _Object:
        if call.ids["id"] not in objects:
            self._fail(call, "INVALID_RESOURCE_ID")
        return objects[call.ids["id"]]

    def _time(self, call: Call, query: Mapping[str, str], name: str) -> datetime | None:
        text = query.get(name)
        if text is None:
            return None
        if not _TIME.fullmatch(text) or (read := _moment(text)) is None:
            self._fail(call, "INVALID_PARAMETER_SYNTAX", name, text)
        return read

    def _whole(
        self, call: Call, query: Mapping[str, str], name: str, default: int, most: int = 2**31 - 1
    ) -> int:
        text = query.get(name, str(default))
        if not re.fullmatch(r"\d{1,10}", text) or not 1 <= int(text) <= most:
            self._fail(call, "INVALID_PARAMETER_VALUE", name, text)
        return int(text)

    def _listed(self, name: str, entries: list[Record], body: Record) -> Record:
        return {name: entries, **body} if entries or not self.habits.is_empty_list_absent else body

    # ------------------------------------------------------------ refunds

    def refund(self, call: Call) -> Answer:
        if (again := self._repeated(call)) is not None:
            return again
        if call.content_type != "application/json":
            raise RefusalError(self._problem(call, 415))
        body = {} if not call.body.strip() else call.json
        if not isinstance(body, dict):
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "/")
        capture = self._found(call, self._captures)
        texts = {name: self._text(call, body, name, most) for name, most in _LENGTHS.items()}
        asked = self._amount(call, body, capture)
        if isinstance(body.get("payment_instruction"), dict) and body["payment_instruction"].get(
            "platform_fees"
        ):
            self._fail(call, "PLATFORM_FEE_NOT_ENABLED", "/payment_instruction/platform_fees")
        self._check_refundable(call, capture, asked, texts["invoice_id"])
        minor = capture.left_minor if asked is None else asked
        refund = self._refund(
            capture,
            minor,
            status="PENDING" if call.has(Kind.SLOW_PENDING) else "COMPLETED",
            custom_id=texts["custom_id"],
            invoice_id=texts["invoice_id"],
            note=texts["note_to_payer"],
        )
        self._keep(call, refund)
        self._pay_back(refund, "api", call.headers.get("paypal-request-id"))
        if call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self.settle({"refund": refund.id, "status": "FAILED"}))
        return self._made(call, refund, 201)

    def _text(self, call: Call, body: Record, name: str, most: int) -> str | None:
        value = body.get(name)
        if name in body and not isinstance(value, str):
            self._fail(call, "INVALID_PARAMETER_SYNTAX", f"/{name}")
        if value is not None and not 1 <= len(value) <= most:
            self._fail(call, "INVALID_STRING_LENGTH", f"/{name}", value)
        return value

    def _amount(self, call: Call, body: Record, capture: _Capture) -> int | None:
        """The amount asked for in minor units; None where the body names none, which means all that is left."""
        if "amount" not in body:
            return None
        amount = body["amount"]
        if not isinstance(amount, dict):
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "/amount")
        for name, most in (("currency_code", 3), ("value", 32)):
            if name not in amount:
                self._fail(call, "MISSING_REQUIRED_PARAMETER", f"/amount/{name}")
            if self._text(call, {f"amount/{name}": amount[name]}, f"amount/{name}", most) is None:
                self._fail(call, "INVALID_PARAMETER_SYNTAX", f"/amount/{name}")
        currency, value = amount["currency_code"], amount["value"]
        if not _VALUE.fullmatch(value):
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "/amount/value", value)
        if currency not in _CURRENCIES:
            self._fail(call, "INVALID_CURRENCY_CODE", "/amount/currency_code", currency)
        decimals = len(value.partition(".")[2])
        if currency in _WHOLE and "." in value:
            self._fail(call, "DECIMALS_NOT_SUPPORTED", "/amount/value", value)
        if currency not in _WHOLE and (decimals > 2 or (self.habits.is_decimals_exact and decimals != 2)):
            self._fail(call, "DECIMAL_PRECISION", "/amount/value", value)
        minor = Money.from_major(value, currency).minor
        if minor <= 0:
            self._fail(call, "CANNOT_BE_ZERO_OR_NEGATIVE", "/amount/value", value)
        if currency != capture.order.currency:
            self._fail(call, "REFUND_CAPTURE_CURRENCY_MISMATCH", "/amount/currency_code", currency)
        return minor

    def _check_refundable(
        self, call: Call, capture: _Capture, asked: int | None, invoice_id: str | None
    ) -> None:
        habits, left = self.habits, capture.left_minor
        minor = left if asked is None else asked
        disputes = [each for each in self._disputes.values() if each.capture is capture]
        is_open = any(each.is_open and each.channel == "INTERNAL" for each in disputes)
        balance = self.balance.get(capture.order.currency)
        issue = capture.refund_issue
        if issue == "PARTIAL_REFUND_NOT_ALLOWED" and minor == capture.amount_minor:
            issue = None
        # The first that holds is the answer: what can never be refunded, then what is wrong with this refund.
        for is_so, why in (
            (capture.state == "PENDING", "PENDING_CAPTURE"),
            (capture.state in ("DECLINED", "FAILED"), "REFUND_NOT_ALLOWED"),
            (any(each.is_chargeback for each in disputes), "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK"),
            (left <= 0, "CAPTURE_FULLY_REFUNDED"),
            (
                self._now() - capture.created > timedelta(days=habits.refund_window_days),
                "REFUND_TIME_LIMIT_EXCEEDED",
            ),
            (issue is not None, issue or ""),
            (minor > left, "REFUND_AMOUNT_EXCEEDED"),
            (is_open and (minor < left or habits.is_disputed_full_refund_refused), "TRANSACTION_DISPUTED"),
            (self._is_used(invoice_id), "DUPLICATE_INVOICE_ID"),
            (
                habits.max_refunds is not None and len(capture.refunds) >= habits.max_refunds,
                "MAX_NUMBER_OF_REFUNDS_EXCEEDED",
            ),
            (balance is not None and balance < minor, "REFUND_FAILED_INSUFFICIENT_FUNDS"),
        ):
            if is_so:
                self._fail(call, why)

    def _is_used(self, invoice_id: str | None) -> bool:
        """Whether a refund of any capture has that invoice id, a failed one too: trying again takes a new one."""
        return invoice_id is not None and any(
            each.invoice_id == invoice_id for each in self._refunds.values()
        )

    def _refund(
        self,
        capture: _Capture,
        minor: int,
        *,
        status: str = "COMPLETED",
        custom_id: str | None = None,
        invoice_id: str | None = None,
        note: str | None = None,
        id: str | None = None,
        created: datetime | None = None,
    ) -> _Refund:
        at = created or self._now()
        total = capture.refunded_minor + minor
        id, arn = id or self._transaction_id(), str(uuid.uuid4().int)[:23]
        refund = _Refund(id, capture, minor, total, at, at, status, custom_id, invoice_id, note, arn)
        self._refunds[id] = refund
        capture.refunds.append(refund)
        capture.updated = at
        self._movements.append(_Movement(id, "T1107", at, -minor, capture, refund))
        return refund

    def _pay_back(self, refund: _Refund, by: str, key: str | None) -> None:
        """Takes the money from the balance, writes the book and tells; once for each refund, when it is made."""
        capture, currency = refund.capture, refund.capture.order.currency
        if currency in self.balance:
            self.balance[currency] -= refund.amount_minor
        self._write("refund", refund, idempotency_key=key, by=by)
        is_waiting = refund.status == "PENDING" and self.habits.has_refund_status_events
        self._tell("PAYMENT.REFUND.PENDING" if is_waiting else "PAYMENT.CAPTURE.REFUNDED", refund.id)
        if capture.left_minor == 0 and self.habits.is_dispute_closed_by_full_refund:
            for dispute in self._disputes.values():
                if dispute.capture is capture and dispute.is_open and dispute.channel == "INTERNAL":
                    dispute.refunded_minor = refund.amount_minor
                    self._resolve(dispute, "RESOLVED_BUYER_FAVOUR")

    def _move_refund(self, refund: _Refund, status: str) -> None:
        if status not in _REFUND_MOVES[refund.status]:
            raise ValueError(f"a refund does not go from {refund.status} to {status}")
        refund.status, refund.updated = status, self._now()
        refund.capture.updated = self._now()
        if status in ("FAILED", "CANCELLED"):
            currency = refund.capture.order.currency
            if currency in self.balance:
                self.balance[currency] += refund.amount_minor
            self._write("refund_failed" if status == "FAILED" else "refund_canceled", refund)
        if self.habits.has_refund_status_events and status != "CANCELLED":
            topic = "PAYMENT.REFUND.FAILED" if status == "FAILED" else "PAYMENT.CAPTURE.REFUNDED"
            self._tell(topic, refund.id)

    def _write(self, effect: str, refund: _Refund, **more: Any) -> None:
        order = refund.capture.order
        self.book.write(
            effect,
            id=refund.id,
            amount_minor=refund.amount_minor,
            currency=order.currency,
            target={"order": order.id, "number": order.number, "capture": refund.capture.id},
            reference=refund.custom_id,
            invoice_id=refund.invoice_id,
            **more,
        )

    # ------------------------------------------------------------ authorisations

    def void(self, call: Call) -> Answer:
        if (again := self._repeated(call)) is not None:
            return again
        found = self._found(call, self._authorizations)
        match self._status_of(found):
            case "CAPTURED":
                self._fail(call, "PREVIOUSLY_CAPTURED")
            case "VOIDED":
                self._fail(call, "PREVIOUSLY_VOIDED")
            case "DENIED":
                self._fail(call, "CANNOT_BE_VOIDED")
        if found.parent is not None:
            self._fail(call, "CANNOT_BE_VOIDED")
        self._release(found, "api", call.headers.get("paypal-request-id"))
        self._keep(call, found)
        return self._made(call, found, 200)

    def _status_of(self, found: _Authorization) -> str:
        """An authorisation that ran out is as good as voided; the vendor's words have no other for it."""
        if found.state in ("VOIDED", "DENIED"):
            return found.state
        if found.captured_minor >= found.amount_minor:
            return "CAPTURED"
        if found.expires <= self._now():
            return "VOIDED"
        return "PARTIALLY_CAPTURED" if found.captured_minor else found.state

    def _release(self, found: _Authorization, by: str, key: str | None = None) -> None:
        released = found.amount_minor - found.captured_minor
        found.state, found.updated = "VOIDED", self._now()
        self.book.write(
            "void",
            id=found.id,
            amount_minor=released,
            currency=found.order.currency,
            target={"order": found.order.id, "number": found.order.number, "authorization": found.id},
            reference=found.order.custom_id,
            idempotency_key=key,
            by=by,
        )
        self._tell("PAYMENT.AUTHORIZATION.VOIDED", found.id)

    # ------------------------------------------------------------ disputes

    def list_disputes(self, call: Call) -> Answer:
        """Newest first. By the description, a list that asks for nothing begins now, which finds nothing."""
        query, now = dict(call.query_pairs), self._now()
        transaction = query.get("disputed_transaction_id")
        if transaction is not None and "start_time" in query:
            self._fail(call, "INVALID_PARAMETER_VALUE", "start_time")
        if transaction is not None and not _TRANSACTION.fullmatch(transaction):
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "disputed_transaction_id", transaction)
        names = ("start_time", "update_time_after", "update_time_before")
        since, after, before = (self._time(call, query, name) for name in names)
        for name, at in zip(names, (since, after, before), strict=True):
            if at is not None and now - at > timedelta(days=180):
                self._fail(call, "INVALID_PARAMETER_VALUE", name, query[name])
        if not set(query) - {"page_size", "next_page_token"}:
            since = now
        states = query["dispute_state"].split(",") if "dispute_state" in query else None
        found = [
            each
            for each in sorted(self._disputes.values(), key=lambda each: each.created, reverse=True)
            if transaction in (None, each.capture.id)
            and (since is None or each.created >= since)
            and (after is None or each.updated >= after)
            and (before is None or each.updated <= before)
            and (states is None or _DISPUTE_STATES[each.status] in states)
        ]
        size = self._whole(call, query, "page_size", 10, 50)
        start = self._start(call, query)
        links = [self._link("self", f"/v1/customer/disputes?{call.query}")]
        if len(found) > start + size:
            token = base64.b64encode(str(start + size).encode()).decode()
            links.append(self._link("next", f"/v1/customer/disputes?next_page_token={token}"))
        entries = [self._summarise(each) for each in found[start : start + size]]
        return Answer(200, self._listed("items", entries, {"links": links}))

    def _start(self, call: Call, query: Mapping[str, str]) -> int:
        token = query.get("next_page_token")
        if token is None:
            return 0
        try:
            return int(base64.b64decode(token, validate=True))
        except ValueError:
            self._fail(call, "INVALID_PARAMETER_VALUE", "next_page_token", token)

    def get_dispute(self, call: Call) -> Answer:
        return Answer(200, self._show_dispute(self._found(call, self._disputes)))

    def accept_claim(self, call: Call) -> Answer:
        """Closes the case for the buyer and refunds what is disputed; a chargeback's money went already."""
        dispute = self._found(call, self._disputes)
        if call.content_type not in ("multipart/form-data", "application/json"):
            raise RefusalError(self._problem(call, 415))
        if dispute.status not in ("OPEN", "WAITING_FOR_SELLER_RESPONSE"):
            self._fail(call, "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE")
        minor = min(dispute.amount_minor, dispute.capture.left_minor)
        if dispute.channel != "EXTERNAL" and minor > 0:
            self._pay_back(self._refund(dispute.capture, minor), "accept_claim", None)
            dispute.refunded_minor = minor
        if dispute.is_open:
            self._resolve(dispute, "RESOLVED_BUYER_FAVOUR")
        return Answer(200, {"links": [self._link("self", f"/v1/customer/disputes/{dispute.id}")]})

    def provide_evidence(self, call: Call) -> Answer:
        dispute = self._found(call, self._disputes)
        if call.content_type != "multipart/form-data":
            raise RefusalError(self._problem(call, 415))
        if b'name="input"' not in call.body:
            self._fail(call, "MISSING_REQUIRED_PARAMETER", "/input")
        if dispute.status != "WAITING_FOR_SELLER_RESPONSE":
            self._fail(call, "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE")
        self._move_dispute(dispute, "UNDER_REVIEW")
        return Answer(200, {"links": [self._link("self", f"/v1/customer/disputes/{dispute.id}")]})

    def _open_dispute(self, capture: _Capture, described: Record, *, is_history: bool) -> _Dispute:
        _only(described, "a dispute", "id amount_minor reason status stage channel outcome")
        stage = described.get("stage", "INQUIRY")
        status = described.get("status", "OPEN" if stage == "INQUIRY" else "WAITING_FOR_SELLER_RESPONSE")
        if stage not in _STAGES or status not in _DISPUTE_STATES:
            raise ValueError(f"a dispute has no stage {stage} or no status {status}")
        now, id = self._now(), described.get("id") or f"PP-D-{uuid.uuid4().int % 10**9:09}"
        dispute = _Dispute(
            id,
            capture,
            _minor(described, "amount_minor", capture.order.currency, capture.amount_minor),
            described.get("reason", "MERCHANDISE_OR_SERVICE_NOT_RECEIVED"),
            described.get("channel", "INTERNAL" if stage == "INQUIRY" else "EXTERNAL"),
            stage,
            status,
            now,
            now,
            now + timedelta(days=10),
        )
        if status == "RESOLVED":
            dispute.outcome = described.get("outcome", "RESOLVED_SELLER_FAVOUR")
        self._disputes[id] = dispute
        if not is_history:
            self._tell("CUSTOMER.DISPUTE.CREATED", id)
            if dispute.channel == "EXTERNAL" and dispute.is_open:
                self._move_disputed(dispute, -dispute.amount_minor)
        return dispute

    def _move_dispute(self, dispute: _Dispute, status: str, stage: str | None = None) -> None:
        if status not in _DISPUTE_STATES or (stage is not None and stage not in _STAGES):
            raise ValueError(f"a dispute has no status {status} or no stage {stage}")
        dispute.status, dispute.stage = status, stage or dispute.stage
        dispute.updated = self._now()
        self._tell("CUSTOMER.DISPUTE.UPDATED", dispute.id)

    def _resolve(self, dispute: _Dispute, outcome: str) -> None:
        """Closes a case. A lost claim takes what is left of the disputed money, a chargeback that was won gives it back."""
        if outcome not in _OUTCOMES:
            raise ValueError(f"a dispute has no outcome {outcome}")
        was_taken = dispute.channel == "EXTERNAL"
        dispute.status, dispute.outcome, dispute.updated = "RESOLVED", outcome, self._now()
        if outcome in _FOR_BUYER and not was_taken and not dispute.refunded_minor:
            minor = min(dispute.amount_minor, dispute.capture.left_minor)
            dispute.capture.reversed_minor += minor
            dispute.refunded_minor = minor
            if minor:
                self._move_disputed(dispute, -minor)
        elif outcome in _FOR_BUYER and was_taken:
            dispute.refunded_minor = dispute.amount_minor
        elif was_taken:
            self._move_disputed(dispute, dispute.amount_minor)
        self._tell("CUSTOMER.DISPUTE.RESOLVED", dispute.id)

    def _move_disputed(self, dispute: _Dispute, minor: int) -> None:
        """Moves disputed money out of the shop's account (negative) or back into it."""
        capture, currency, now = dispute.capture, dispute.capture.order.currency, self._now()
        kind, code = ("DEBIT", "T1201") if minor < 0 else ("CREDIT", "T1202")
        dispute.movements.append(
            {
                "affected_party": "SELLER",
                "amount": _money(abs(minor), currency),
                "initiated_time": _stamp(now),
                "type": kind,
                "reason": "DISPUTE_SETTLEMENT",
            }
        )
        if currency in self.balance:
            self.balance[currency] += minor
        self._movements.append(_Movement(self._transaction_id(), code, now, minor, capture))
        self.book.write(
            "dispute_withdrawn" if minor < 0 else "dispute_reinstated",
            id=dispute.id,
            amount_minor=abs(minor),
            currency=currency,
            target={"order": capture.order.id, "number": capture.order.number, "capture": capture.id},
        )
        if minor < 0:
            self._tell("PAYMENT.CAPTURE.REVERSED", capture.id)

    # ------------------------------------------------------------ events

    def _tell(self, topic: str, object_id: str) -> None:
        self.emit(self._event(topic, object_id))

    def _event(self, topic: str, object_id: str) -> Event:
        resource, about = self._resource(topic, object_id)
        kind, version = _TOPICS[topic]
        id = f"WH-{self._transaction_id()}-{self._transaction_id()}"
        path = f"/v1/notifications/webhooks-events/{id}"
        event: Record = {
            "id": id,
            "event_version": "1.0",
            "create_time": self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "resource_type": kind,
            "resource_version": version,
            "event_type": topic,
            "summary": f"{kind.capitalize()} {object_id}: {topic.rpartition('.')[2].lower()}",
            "resource": resource,
            "links": [self._link("self", path), self._link("resend", f"{path}/resend", "POST")],
        }
        # Kept as text, because a later state of the object must not change what was said.
        self._events[id] = _Told(json.loads(json.dumps(event)), frozenset(about))
        return _sendable(event)

    def _resource(self, topic: str, id: str) -> tuple[Record, set[str]]:
        """The object an event is about, and the ids by which that event may be asked for. Raises NoSuchObjectError."""
        kind = _TOPICS.get(topic, ("", ""))[0]
        if kind == "refund" and id in self._captures and self._captures[id].refunds:
            id = self._captures[id].refunds[-1].id
        if kind == "refund" and id in self._refunds:
            return self._show_refund(self._refunds[id]), {id, self._refunds[id].capture.id}
        if kind == "capture" and id in self._captures:
            return self._show_capture(self._captures[id]), {id}
        if kind == "authorization" and id in self._authorizations:
            return self._show_authorization(self._authorizations[id]), {id}
        if kind == "dispute" and id in self._disputes:
            return self._show_dispute(self._disputes[id]), {id, self._disputes[id].capture.id}
        if kind == "checkout-order" and id in self._orders:
            return {"order_id": id, **self._show_order(self._orders[id])}, {id}
        raise NoSuchObjectError(f"the practice PayPal sends no {topic!r} about {id!r}")

    def event_for(self, topic: str, object_id: str) -> Event:
        """The newest event of that type about the object, or one made now: asked for twice it is the same event.

        The object is a refund (or its capture), a capture, an authorisation, a dispute or an order, as the topic has it.
        """
        for told in reversed(self._events.values()):
            if told.event["event_type"] == topic and object_id in told.about:
                return _sendable(told.event)
        return self._event(topic, object_id)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """RSA over `id|time|webhook id|CRC-32 of the raw body`; the webhook id is the subscription's secret."""
        with self.lock:
            certificate = self._certificate()
        id, at = str(uuid.uuid1()), _stamp(self._now())
        message = signed_message(id, at, secret, event.payload)
        signature = certificate.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "PayPal/AUHD-214.0-practice",
            "PAYPAL-TRANSMISSION-ID": id,
            "PAYPAL-TRANSMISSION-TIME": at,
            "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
            "PAYPAL-CERT-URL": self._certificate_url(certificate),
            "PAYPAL-AUTH-ALGO": ALGORITHM,
        }
        return Delivery(headers, event.payload)

    def _certificate(self) -> _Certificate:
        """The key pair that signs now, made when it is first needed: making one takes a moment."""
        if self._signing is None:
            self._signing = _make_certificate(self._certificate_kind, self._now())
            self._certificates[self._signing.id] = self._signing
        return self._signing

    def _certificate_url(self, certificate: _Certificate) -> str:
        return f"{self.habits.public_url}/v1/notifications/certs/{certificate.id}"

    def get_certificate(self, call: Call) -> Answer:
        found = self._found(call, self._certificates)
        return Answer(200, found.pem, content_type="application/x-pem-file")

    def verify_signature(self, call: Call) -> Answer:
        """Compares with the event's bytes as they stand in the request: one that was written anew fails."""
        if call.content_type != "application/json":
            raise RefusalError(self._problem(call, 415))
        try:
            parts = _spans(call.body.decode())
        except ValueError:
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "/")
        names = (
            "transmission_id",
            "transmission_time",
            "cert_url",
            "auth_algo",
            "transmission_sig",
            "webhook_id",
        )
        for name in (*names, "webhook_event"):
            if name not in parts:
                self._fail(call, "MISSING_REQUIRED_PARAMETER", f"/{name}")
        given = {name: json.loads(parts[name]) for name in names}
        if not all(isinstance(value, str) for value in given.values()):
            self._fail(call, "INVALID_PARAMETER_SYNTAX", "/")
        is_ours = self._is_ours(given, parts["webhook_event"].encode())
        return Answer(200, {"verification_status": "SUCCESS" if is_ours else "FAILURE"})

    def _is_ours(self, given: Mapping[str, str], body: bytes) -> bool:
        known = {self._certificate_url(each): each for each in self._certificates.values()}
        certificate = known.get(given["cert_url"])
        if certificate is None or certificate.kind == "foreign" or given["auth_algo"] != ALGORITHM:
            return False
        if given["webhook_id"] == SIMULATED_ID:
            return False
        message = signed_message(
            given["transmission_id"], given["transmission_time"], given["webhook_id"], body
        )
        try:
            signature = base64.b64decode(given["transmission_sig"], validate=True)
            certificate.key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, InvalidSignature):
            return False
        return True

    def list_events(self, call: Call) -> Answer:
        """Everything told, newest first, also where nobody subscribed. Follow `next`: page numbers there are none."""
        query = dict(call.query_pairs)
        since, until = self._time(call, query, "start_time"), self._time(call, query, "end_time")
        found = [
            told.event
            for told in reversed(self._events.values())
            if (since is None or _at(told.event["create_time"]) >= since)
            and (until is None or _at(told.event["create_time"]) <= until)
            and ("transaction_id" not in query or query["transaction_id"] in told.about)
            and query.get("event_type") in (None, told.event["event_type"])
        ]
        size, start = self._whole(call, query, "page_size", 10), self._start(call, query)
        page = found[start : start + size]
        links = [self._link("self", f"{call.path}?{call.query}")]
        if len(found) > start + size:
            token = base64.b64encode(str(start + size).encode()).decode()
            rest = urlencode({**query, "next_page_token": token})
            links.append(self._link("next", f"{call.path}?{rest}"))
        return Answer(200, {"events": page, "count": len(page), "links": links})

    def get_event(self, call: Call) -> Answer:
        return Answer(200, self._found(call, self._events).event)

    def resend_event(self, call: Call) -> Answer:
        told = self._found(call, self._events)
        self.emit(_sendable(told.event))
        return Answer(202, told.event)

    def simulate_event(self, call: Call) -> Answer:
        """Posts a made-up event to the given URL, signed with the literal `WEBHOOK_ID`. The event is listed nowhere."""
        asked = call.json
        if not isinstance(asked, dict) or not isinstance(asked.get("event_type"), str):
            self._fail(call, "MISSING_REQUIRED_PARAMETER", "/event_type")
        url, topic = asked.get("url"), asked["event_type"]
        if not isinstance(url, str) or topic not in _TOPICS:
            self._fail(call, "INVALID_PARAMETER_VALUE", "/event_type" if isinstance(url, str) else "/url")
        made: Record = {
            "id": f"WH-{self._transaction_id()}-{self._transaction_id()}",
            "event_version": "1.0",
            "create_time": _stamp(self._now()),
            "resource_type": _TOPICS[topic][0],
            "event_type": topic,
            "summary": "A simulated event",
            "resource": {"id": self._transaction_id()},
            "links": [],
        }

        def post() -> None:
            self.world.webhooks.send_now(self.name, _sendable(made), url, SIMULATED_ID)

        # Not from here: the lock is held, and the receiver may call back.
        self.world.later(0.0, post)
        return Answer(202, made)

    # ------------------------------------------------------------ at the controls

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("settings", {}))
            self.balance |= dict(data.get("balance_minor", {}))
            return {"orders": [self._seed_order(each) for each in data.get("orders", [])]}
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed paypal: {wrong}") from wrong

    def _seed_order(self, described: Record) -> Record:
        currency = described.get("currency", "USD")
        if currency not in _CURRENCIES:
            raise ValueError(f"PayPal has no {currency}")
        lines = list(described.get("lines", []))
        shipping = _minor(described, "shipping_minor", currency, 0)
        sum_minor = shipping + sum(
            _minor(each, "unit_minor", currency) * each.get("quantity", 1) for each in lines
        )
        payments = described.get("payments", [{}])
        id = described.get("id") or self._transaction_id()
        order = _Order(
            id,
            str(described.get("number", id)),
            currency,
            _at(described["created"]) if "created" in described else self._now(),
            _minor(described, "amount_minor", currency, sum_minor),
            described.get("email", "customer@example.com"),
            described.get("status", "COMPLETED" if payments else "APPROVED"),
            described.get("custom_id"),
            shipping,
            lines,
        )
        if order.amount_minor <= 0:
            raise ValueError("an order needs lines or an amount_minor above zero")
        self._orders[id] = order
        made = [self._seed_payment(order, each) for each in payments]
        return {"id": id, "number": order.number, "payments": made}

    def _seed_payment(self, order: _Order, described: Record) -> Record:
        _only(
            described,
            "a payment",
            "status amount_minor created capture_id authorization_id captured_minor expires parent reason custom_id "
            "invoice_id refund_issue refunds dispute",
        )
        status = described.get("status", "COMPLETED")
        is_held = status in ("AUTHORISED", "DENIED")
        if not is_held and status not in ("COMPLETED", "PENDING", "DECLINED", "FAILED"):
            raise ValueError(f"a payment has no status {status}")
        created = _at(described["created"]) if "created" in described else order.created
        amount = _minor(described, "amount_minor", order.currency, order.amount_minor)
        captured = _minor(described, "captured_minor", order.currency, 0) if is_held else amount
        authorization = capture = dispute = None
        if is_held or "authorization_id" in described:
            expires = _at(described["expires"]) if "expires" in described else created + timedelta(days=29)
            id = described.get("authorization_id") or self._transaction_id()
            authorization = _Authorization(id, order, amount, created, created, expires)
            authorization.parent = described.get("parent")
            authorization.state = "DENIED" if status == "DENIED" else "CREATED"
            self._authorizations[id] = authorization
            order.authorizations.append(authorization)
        if captured:
            state = "COMPLETED" if is_held else status
            capture = self._capture(order, authorization, captured, state, created, described)
            for each in described.get("refunds", []):
                _only(each, "a refund", "id amount_minor status custom_id invoice_id note created")
                refund = {**each, "amount_minor": _minor(each, "amount_minor", order.currency)}
                refund["created"] = _at(each["created"]) if "created" in each else created
                if refund.get("status", "COMPLETED") not in _REFUND_MOVES:
                    raise ValueError(f"a refund has no status {refund['status']}")
                self._refund(capture, refund.pop("amount_minor"), **refund)
            if capture.left_minor < 0:
                raise ValueError("more was refunded than captured")
            if described.get("dispute") is not None:
                dispute = self._open_dispute(capture, described["dispute"], is_history=True)
        return {
            "authorization_id": authorization.id if authorization is not None else None,
            "capture_id": capture.id if capture is not None else None,
            "refunds": [each.id for each in capture.refunds] if capture is not None else [],
            "dispute": dispute.id if dispute is not None else None,
        }

    def _capture(
        self,
        order: _Order,
        authorization: _Authorization | None,
        minor: int,
        state: str,
        at: datetime,
        described: Record,
    ) -> _Capture:
        id = described.get("capture_id") or self._transaction_id()
        capture = _Capture(
            id,
            order,
            authorization,
            minor,
            at,
            at,
            state,
            described.get("reason", "ECHECK"),
            described.get("invoice_id", order.number),
            described.get("custom_id", order.custom_id),
            described.get("refund_issue"),
        )
        self._captures[id] = capture
        order.captures.append(capture)
        self._movements.append(_Movement(id, "T0006", at, minor, capture))
        return capture

    def settle(self, data: Record) -> Record:
        match data:
            case {"refund": str(id), "status": str(status)}:
                refund = _known(self._refunds, id)
                self._move_refund(refund, status)
                return self._show_refund(refund)
            case {"capture": str(id), "status": "COMPLETED" | "DECLINED" as status}:
                capture = _known(self._captures, id)
                if capture.state != "PENDING":
                    raise ValueError(f"a capture that is {capture.state} stays so")
                capture.state, capture.updated = status, self._now()
                self._tell(f"PAYMENT.CAPTURE.{status}", id)
                return self._show_capture(capture)
            case {"capture": str(id), "dashboard_refund": dict(described)}:
                capture = _known(self._captures, id)
                minor = _minor(described, "amount_minor", capture.order.currency)
                if not 0 < minor <= capture.left_minor:
                    raise ValueError("the dashboard would not refund more than is left either")
                refund = self._refund(capture, minor, custom_id=described.get("custom_id"))
                self._pay_back(refund, "dashboard", None)
                return self._show_refund(refund)
            case {"capture": str(id), "open_dispute": dict(described)}:
                return self._show_dispute(
                    self._open_dispute(_known(self._captures, id), described, is_history=False)
                )
            case {"capture": str(id), "refund_issue": str() | None as issue}:
                _known(self._captures, id).refund_issue = issue
                return {"capture": id, "refund_issue": issue}
            case {"dispute": str(id), "status": str(status)}:
                dispute = _known(self._disputes, id)
                if not dispute.is_open:
                    raise ValueError("a dispute that is RESOLVED stays so")
                if status == "RESOLVED":
                    self._resolve(dispute, data.get("outcome", "RESOLVED_BUYER_FAVOUR"))
                else:
                    self._move_dispute(dispute, status, data.get("stage"))
                return self._show_dispute(dispute)
            case {"authorization": str(id), "capture_minor": int()}:
                return self._capture_now(_known(self._authorizations, id), data)
            case {"authorization": str(id), "status": "VOIDED"}:
                found = _known(self._authorizations, id)
                if self._status_of(found) in ("CAPTURED", "VOIDED", "DENIED"):
                    raise ValueError(f"an authorisation that is {self._status_of(found)} cannot be voided")
                self._release(found, "dashboard")
                return self._show_authorization(found)
            case {"order": str(id), "approval": "reversed"}:
                order = _known(self._orders, id)
                order.status = "VOIDED"
                self._tell("CHECKOUT.PAYMENT-APPROVAL.REVERSED", id)
                return self._show_order(order)
            case {"balance_minor": dict(balance)}:
                self.balance |= balance
                return {"balance_minor": dict(self.balance)}
            case {"token": "expired"}:
                for token in self._tokens.values():
                    token.expires = self._now()
                return {"tokens": len(self._tokens)}
            case {"certificate": "renewed" | "expired" | "foreign" as kind}:
                self._signing, self._certificate_kind = None, kind
                return {"certificate": kind}
            case _:
                raise ValueError("settle what? see the docstring of the practice PayPal")

    def _capture_now(self, found: _Authorization, data: Record) -> Record:
        minor = _minor(data, "capture_minor", found.order.currency)
        is_possible = self._status_of(found) in ("CREATED", "PARTIALLY_CAPTURED")
        if not is_possible or not 0 < minor <= found.amount_minor - found.captured_minor:
            raise ValueError("that much cannot be captured of this authorisation")
        capture = self._capture(found.order, found, minor, "COMPLETED", self._now(), data)
        found.updated = self._now()
        self._tell("PAYMENT.CAPTURE.COMPLETED", capture.id)
        return self._show_capture(capture)

    # ------------------------------------------------------------ as the API shows them

    def _now(self) -> datetime:
        return self.world.clock()

    def _transaction_id(self) -> str:
        return self.mint(length=17).upper()

    def _link(self, rel: str, path: str, method: str = "GET") -> Record:
        return {"href": f"{self.habits.public_url}{path}", "rel": rel, "method": method}

    def _show_order(self, order: _Order) -> Record:
        currency = order.currency
        items = [
            {
                "name": str(each.get("title", each.get("sku", "Item"))),
                "unit_amount": _money(each["unit_minor"], currency),
                "quantity": str(each.get("quantity", 1)),
                **({"sku": each["sku"]} if "sku" in each else {}),
            }
            for each in order.lines
        ]
        item_minor = sum(each["unit_minor"] * each.get("quantity", 1) for each in order.lines)
        rest = order.amount_minor - item_minor - order.shipping_minor
        breakdown = {
            "item_total": _money(item_minor, currency),
            "shipping": _money(order.shipping_minor, currency),
            ("tax_total" if rest >= 0 else "discount"): _money(abs(rest), currency),
        }
        payments = {
            "authorizations": [
                self._show_authorization(each, is_inside=True) for each in order.authorizations
            ],
            "captures": [self._show_capture(each, is_inside=True) for each in order.captures],
            "refunds": [self._show_refund(each) for capture in order.captures for each in capture.refunds],
        }
        unit: Record = {
            "reference_id": "default",
            "amount": _money(order.amount_minor, currency) | ({"breakdown": breakdown} if items else {}),
            "payee": dict(_SELLER),
            "invoice_id": order.number,
            **({"custom_id": order.custom_id} if order.custom_id else {}),
            **({"items": items} if items else {}),
        }
        if paid := {name: shown for name, shown in payments.items() if shown}:
            unit["payments"] = paid
        payer = {"email_address": order.email, "payer_id": "QYR5Z8XDVJNXQ"}
        path = f"/v2/checkout/orders/{order.id}"
        return {
            "id": order.id,
            "intent": "AUTHORIZE" if order.authorizations else "CAPTURE",
            "status": order.status,
            "payment_source": {"paypal": {"email_address": order.email, "account_id": payer["payer_id"]}},
            "purchase_units": [unit],
            "payer": payer,
            "create_time": _stamp(order.created),
            "update_time": _stamp(order.created),
            "links": [self._link("self", path)],
        }

    def _show_authorization(self, found: _Authorization, *, is_inside: bool = False) -> Record:
        path = f"/v2/payments/authorizations/{found.id}"
        shown: Record = {
            "id": found.id,
            "status": self._status_of(found),
            "amount": _money(found.amount_minor, found.order.currency),
            "invoice_id": found.order.number,
            **({"custom_id": found.order.custom_id} if found.order.custom_id else {}),
            "seller_protection": {"status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED"]},
            "expiration_time": _stamp(found.expires),
            "create_time": _stamp(found.created),
            "update_time": _stamp(found.updated),
            "links": [
                self._link("self", path),
                self._link("capture", f"{path}/capture", "POST"),
                self._link("void", f"{path}/void", "POST"),
                self._link("up", f"/v2/checkout/orders/{found.order.id}"),
            ],
        }
        if not is_inside:
            shown["supplementary_data"] = {"related_ids": {"order_id": found.order.id}}
            shown["payee"] = dict(_SELLER)
        return shown

    def _show_capture(self, capture: _Capture, *, is_inside: bool = False) -> Record:
        order, currency = capture.order, capture.order.currency
        path = f"/v2/payments/captures/{capture.id}"
        up = f"/v2/checkout/orders/{order.id}"
        if capture.authorization is not None:
            up = f"/v2/payments/authorizations/{capture.authorization.id}"
        fee = _fee(capture.amount_minor, currency)
        shown: Record = {
            "id": capture.id,
            "status": capture.status,
            "amount": _money(capture.amount_minor, currency),
            **_present(invoice_id=capture.invoice_id, custom_id=capture.custom_id),
            "final_capture": True,
            "seller_protection": {"status": "ELIGIBLE", "dispute_categories": ["ITEM_NOT_RECEIVED"]},
            "seller_receivable_breakdown": {
                "gross_amount": _money(capture.amount_minor, currency),
                "paypal_fee": _money(fee, currency),
                "net_amount": _money(capture.amount_minor - fee, currency),
            },
            "create_time": _stamp(capture.created),
            "update_time": _stamp(capture.updated),
            "links": [
                self._link("self", path),
                self._link("refund", f"{path}/refund", "POST"),
                self._link("up", up),
            ],
        }
        disputes = [each for each in self._disputes.values() if each.capture is capture]
        if capture.state == "PENDING":
            shown["status_details"] = {"reason": capture.reason}
        elif any(each.is_chargeback for each in disputes):
            shown["status_details"] = {"reason": "CHARGEBACK"}
        elif any(each.is_open for each in disputes):
            shown["status_details"] = {"reason": "BUYER_COMPLAINT"}
        if not is_inside:
            ids = {"order_id": order.id}
            if capture.authorization is not None:
                ids["authorization_id"] = capture.authorization.id
            shown["supplementary_data"] = {"related_ids": ids}
            shown["payee"] = dict(_SELLER)
        return shown

    def _show_refund(self, refund: _Refund) -> Record:
        currency, path = refund.capture.order.currency, f"/v2/payments/refunds/{refund.id}"
        # The fixed part of the fee is kept; of the rest its share comes back.
        fee = _fee(refund.amount_minor, currency, has_fixed=False)
        shown: Record = {
            "id": refund.id,
            "amount": _money(refund.amount_minor, currency),
            "seller_payable_breakdown": {
                "gross_amount": _money(refund.amount_minor, currency),
                "paypal_fee": _money(fee, currency),
                "net_amount": _money(refund.amount_minor - fee, currency),
                "total_refunded_amount": _money(refund.total_minor, currency),
            },
            **_present(invoice_id=refund.invoice_id, custom_id=refund.custom_id, note_to_payer=refund.note),
            "status": refund.status,
            "payer": dict(_SELLER),
            "create_time": _stamp(refund.created),
            "update_time": _stamp(refund.updated),
            "links": [
                self._link("self", path),
                self._link("up", f"/v2/payments/captures/{refund.capture.id}"),
            ],
        }
        if refund.status == "PENDING":
            shown["status_details"] = {"reason": "ECHECK"}
        if refund.status == "COMPLETED":
            shown["acquirer_reference_number"] = refund.acquirer_reference
        return shown

    def _summarise(self, dispute: _Dispute) -> Record:
        currency, path = dispute.capture.order.currency, f"/v1/customer/disputes/{dispute.id}"
        return {
            "dispute_id": dispute.id,
            "create_time": _stamp(dispute.created),
            "update_time": _stamp(dispute.updated),
            "reason": dispute.reason,
            "status": dispute.status,
            "dispute_state": _DISPUTE_STATES[dispute.status],
            "dispute_amount": _money(dispute.amount_minor, currency),
            "dispute_life_cycle_stage": dispute.stage,
            "dispute_channel": dispute.channel,
            **({"seller_response_due_date": _stamp(dispute.due)} if dispute.is_open else {}),
            "links": [self._link("self", path)],
        }

    def _show_dispute(self, dispute: _Dispute) -> Record:
        capture, currency = dispute.capture, dispute.capture.order.currency
        path, shown = f"/v1/customer/disputes/{dispute.id}", self._summarise(dispute)
        status = {"DECLINED": "DENIED"}.get(capture.status, capture.status)
        shown["disputed_transactions"] = [
            {
                # The buyer's side of the payment has an id of its own; only the seller's is a capture.
                "buyer_transaction_id": capture.id[::-1],
                "seller_transaction_id": capture.id,
                "create_time": _stamp(capture.created),
                "transaction_status": status,
                "gross_amount": _money(capture.amount_minor, currency),
                **_present(custom=capture.custom_id),
                "buyer": {"name": "Practice Customer"},
                "seller": {
                    "email": _SELLER["email_address"],
                    "merchant_id": _SELLER["merchant_id"],
                    "name": "Practice Shop",
                },
            }
        ]
        if dispute.status in ("OPEN", "WAITING_FOR_SELLER_RESPONSE"):
            shown["links"].append(self._link("accept_claim", f"{path}/accept-claim", "POST"))
            shown["allowed_response_options"] = {"accept_claim": {"accept_claim_types": ["REFUND"]}}
        if dispute.status == "WAITING_FOR_SELLER_RESPONSE":
            shown["links"].append(self._link("provide_evidence", f"{path}/provide-evidence", "POST"))
        allowed = 0 if dispute.is_chargeback else min(dispute.amount_minor, capture.left_minor)
        shown["refund_details"] = {"allowed_refund_amount": _money(max(allowed, 0), currency)}
        if dispute.movements:
            shown["money_movements"] = list(dispute.movements)
        if dispute.outcome is not None:
            shown["dispute_outcome"] = {
                "outcome_code": dispute.outcome,
                "amount_refunded": _money(dispute.refunded_minor, currency),
            }
        return shown

    def _show_movement(self, movement: _Movement) -> Record:
        capture, refund, currency = movement.capture, movement.refund, movement.capture.order.currency
        states = {"COMPLETED": "S", "PENDING": "P"}
        status = states.get(refund.status if refund is not None else capture.state, "D")
        sign = 1 if movement.amount_minor > 0 else -1
        fee = _fee(abs(movement.amount_minor), currency, has_fixed=refund is None)
        has_fee = movement.code in ("T0006", "T1107")
        said = refund if refund is not None else capture
        shown: Record = {
            "transaction_id": movement.id,
            "transaction_event_code": movement.code,
            "transaction_initiation_date": _stamp(movement.at),
            "transaction_updated_date": _stamp(refund.updated if refund is not None else movement.at),
            "transaction_amount": _money(movement.amount_minor, currency),
            **({"fee_amount": _money(-sign * fee, currency)} if has_fee else {}),
            "transaction_status": status,
            **_present(invoice_id=said.invoice_id, custom_field=said.custom_id),
        }
        if movement.code != "T0006":
            shown |= {"paypal_reference_id": capture.id, "paypal_reference_id_type": "TXN"}
        return {"transaction_info": shown}


# ---------------------------------------------------------------- money and time on the wire


def _step(currency: str) -> int:
    """How many minor units the smallest amount has that can be written: 100 for the forint, which is whole here."""
    return 10 ** exponent_of(currency) if currency in _WHOLE else 1


def _money(minor: int, currency: str) -> Record:
    value = str(minor // _step(currency)) if currency in _WHOLE else Money(minor, currency).major
    return {"currency_code": currency, "value": value}


def _minor(described: Record, name: str, currency: str, default: int | None = None) -> int:
    """An amount that a seed names. Raises ValueError for what PayPal could not hold."""
    value = described.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value % _step(currency):
        raise ValueError(f"{name} is minor units that {currency} can be written in, not {value!r}")
    return value


def _fee(minor: int, currency: str, *, has_fixed: bool = True) -> int:
    """A practice figure: 2.99 % and, of a capture, 49 of the smallest amounts; never more than the amount."""
    step = _step(currency)
    share = minor * 299 // 10_000 // step * step
    return min(minor, share + (49 * step if has_fixed else 0))


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def _at(text: str) -> datetime:
    """A moment that a seed names. Raises ValueError where it has no zone."""
    at = _moment(text)
    if at is None or at.tzinfo is None:
        raise ValueError(f"{text!r} is no time with a zone in ISO 8601")
    return at


# ---------------------------------------------------------------- signatures


def signed_message(transmission_id: str, transmission_time: str, webhook_id: str, body: bytes) -> bytes:
    """What a webhook's signature covers: of the body only its CRC-32, as an unsigned decimal number."""
    return f"{transmission_id}|{transmission_time}|{webhook_id}|{zlib.crc32(body)}".encode()


def _make_certificate(kind: str, now: datetime) -> _Certificate:
    """A key with its self-signed certificate. `kind`: renewed (a good one), expired, or foreign (of another host)."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    host = "messageverificationcerts.paypal.com" + (".example.net" if kind == "foreign" else "")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=365))
        .not_valid_after(now + timedelta(days=-1 if kind == "expired" else 365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Certificate(
        f"CERT-{uuid.uuid4()}", kind, key, certificate.public_bytes(serialization.Encoding.PEM)
    )


def _sendable(event: Record) -> Event:
    """The event as PayPal writes it, without a blank: whoever reads and writes it anew gets other bytes."""
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return Event(event["id"], event["event_type"], body)


def _spans(text: str) -> dict[str, str]:
    """The members of a JSON object, each value as the text that stands there. Raises ValueError for anything else."""
    decoder, found = json.JSONDecoder(), {}
    if not isinstance(json.loads(text), dict):
        raise ValueError("not a JSON object")
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, at = decoder.raw_decode(text, start)
        found[name] = text[start:at]
        at = _skip(text, at)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


# ---------------------------------------------------------------- small things


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, credentials = header.partition(" ")
    try:
        id, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (id, secret) if scheme.lower() == "basic" else None


def _debug_id(call: Call) -> str:
    return f"f{call.request_id[:12].lower()}"


def _fingerprint(call: Call) -> str:
    return f"{call.path} {json.dumps(call.json, sort_keys=True)}"


def _present(**members: str | None) -> Record:
    """The members that have a value; PayPal leaves the others out."""
    return {name: value for name, value in members.items() if value is not None}


def _known(objects: Mapping[str, _Object], id: str) -> _Object:
    if id not in objects:
        raise NoSuchObjectError(f"no object {id!r} at the practice PayPal")
    return objects[id]


def _only(described: Record, what: str, names: str) -> None:
    if strange := sorted(set(described) - set(names.split())):
        raise ValueError(f"{what} has no {', '.join(strange)}; it may have {names}")


def _is_transaction(info: Record, name: str, value: str) -> bool:
    match name:
        case "transaction_currency":
            return bool(info["transaction_amount"]["currency_code"] == value)
        case "transaction_type":
            return bool(info["transaction_event_code"] == value)
        case _:
            return bool(info[name] == value)
