"""PayPal: payer. Refunds captures, releases authorisations, tells of refunds and disputes.

REST: Payments v2, order look-up of Orders v2, Customer Disputes v1, Webhooks v1 (https://developer.paypal.com/api/rest/, read
2026-11-25). There is no version to pin: the paths carry it. The REST app needs the features for payments, refunds, disputes
(read) and, where webhooks are checked by the API, webhooks; only the app that took a payment can refund it.

Quirks
- A refund needs the capture's id. Shops store that, an authorisation's id, or the order's: `payment_reference` may be a
  capture, an authorisation or `order:<id>`, and what is read names the capture, because events do.
- Refunds cannot be listed by capture. The order shows them, and it may not be readable for ever (how long is not written
  anywhere). Then a capture's status still tells whether nothing, some or all of it went back.
- Without an amount a refund takes all that is left, and an unknown field is ignored: a misspelt `amount` refunds everything.
  So it is always sent, and always compared with the answer's, which holds one only with `Prefer: return=representation`.
- `PayPal-Request-Id` is honoured for 45 days, and a repetition is answered with the *present* state of what the first call
  made. Ours is a UUID made of our key. Our reference stands in `custom_id`; `invoice_id`, which no two refunds may share, holds
  it with the number of the key, so that a refund that failed under an earlier key does not speak for a later one.
- "Fully refunded" and "duplicate invoice id" do not say by whom. Neither is taken for done: the look decides.
- While a case that PayPal itself runs is open, less than the rest is refused, and a full refund may still pass; a chargeback
  at the bank forbids both. Accepting a claim refunds the customer by itself and is left to people.
- HUF and TWD have no decimals here, whatever ISO 4217 says.
- Webhooks are signed with RSA over the CRC-32 of the body; the certificate is fetched from an address that the delivery names,
  so the address is checked before and the certificate after. No age limit is prescribed: events are told apart by their id.
  Should PayPal send its certificate without the authorities in between (unverified), they belong into the file that
  `certificate_authority` names.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import parse_qs, urlsplit

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import Refund, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
)
from refundflow.domain.ids import opened_at
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    PaymentRefundsChanged,
    Reading,
    RefundSeen,
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
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, NotSentError, Request, Response, Wire, parse_json
from refundflow.transport.signatures import split_secrets

_DOC: Final = "https://developer.paypal.com/docs/api"
_KEY_H: Final = 1080.0  # 45 days

SPEC: Final = Spec(
    platform="paypal",
    api_version="payments v2, orders v2, disputes v1, webhooks v1",
    base_url="https://api-m.paypal.com",
    operations={
        Capability.READ_PAYMENT: Operation(
            "GET /v2/payments/captures/{capture_id}",
            Idempotency.READ,
            f"{_DOC}/payments/v2/#captures_get",
        ),
        Capability.REFUND: Operation(
            "POST /v2/payments/captures/{capture_id}/refund",
            Idempotency.KEY,
            f"{_DOC}/payments/v2/#captures_refund",
            key_lifetime_h=_KEY_H,
        ),
        Capability.VOID_PAYMENT: Operation(
            "POST /v2/payments/authorizations/{authorization_id}/void",
            Idempotency.NATURAL,
            f"{_DOC}/payments/v2/#authorizations_void",
            key_lifetime_h=_KEY_H,
        ),
        Capability.CHECK: Operation(
            "GET /v1/customer/disputes", Idempotency.READ, f"{_DOC}/customer-disputes/v1/#disputes_list"
        ),
        Capability.INBOUND: Operation(
            "PAYPAL-TRANSMISSION-SIG",
            Idempotency.READ,
            "https://developer.paypal.com/api/rest/webhooks/rest/",
        ),
    },
    # No limit is published; 429 comes when traffic "looks abusive".
    rate_per_s=5,
    burst=10,
    # Orders carry the customer and how they paid, disputes the correspondence with them.
    redact=frozenset(
        {
            "account_id",
            "admin_area_1",
            "admin_area_2",
            "buyer",
            "communication_details",
            "evidences",
            "extensions",
            "messages",
            "payee",
            "payer",
            "payer_id",
            "payment_source",
            "seller",
            "shipping",
            "supporting_info",
        }
    ),
    read_s=20.0,
)

#: How long after the send an absence is believed. Our own call gives up after 23 s, but what it had sent may still run, and
#: the order shows a refund a moment later. It need not be longer: the key keeps a repeat from paying twice.
CONCLUSIVE_S: Final = 60.0
#: How long a key is relied on where nothing else can be looked at: a day less than it is honoured.
KEY_TRUSTED: Final = timedelta(days=44)
#: How long after the capture PayPal refunds, as far as it is remembered: 180 days (unverified, so it is a setting).
REFUND_WINDOW_DAYS: Final = 180
#: Where our UUIDs come from; never changed, or a repeat would be a second refund.
_NAMESPACE: Final = uuid.NAMESPACE_URL

_PAGE: Final = 50
_MOST_PAGES: Final = 10
_DAY_S: Final = 86_400.0


class WebhookCheck(StrEnum):
    """How a webhook's signature is checked: here, with PayPal's certificate, or by asking PayPal."""

    CERTIFICATE = "certificate"
    API = "api"


#: The value of `certificate_authority` under which a practice vendor's certificate vouches for itself.
PRACTICE: Final = "practice"
_ORDER_NUMBER_FIELDS: Final = ("invoice_id", "custom_id", "none")


@dataclass(frozen=True, slots=True)
class Credentials:
    """`client_id`, `client_secret`: of the REST app that takes the payments; `webhook_id`: of the app's webhook, several with
    commas between them; `refund_window_days`: how long after the capture PayPal refunds; `order_number_field`: where the shop
    writes its order number on a payment (`invoice_id`, `custom_id` or `none`).

    `webhook_check`: `certificate` (signatures are checked here) or `api` (PayPal is asked each time). For the first:
    `certificate_authority`: a file with the certificates that PayPal's is checked against (empty: the public ones);
    `certificate_host`: how the host of its address and its name must end.

    For a rehearsal only: `certificate_base_url` is where certificates are fetched instead of from PayPal, and
    `certificate_authority` "practice" lets the practice vendor's own certificate vouch for itself. Both are refused while
    `base_url` is PayPal's own. Raises ValueError for settings that cannot work or would weaken the check.
    """

    client_id: str
    client_secret: Secret
    webhook_id: str
    base_url: str = SPEC.base_url
    refund_window_days: str = str(REFUND_WINDOW_DAYS)
    order_number_field: str = "invoice_id"
    webhook_check: str = WebhookCheck.CERTIFICATE.value
    certificate_authority: str = ""
    certificate_host: str = ".paypal.com"
    certificate_base_url: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9][0-9]{0,3}", self.refund_window_days):
            raise ValueError(f"refund_window_days is a number of days, not {self.refund_window_days!r}")
        if self.order_number_field not in _ORDER_NUMBER_FIELDS:
            raise ValueError(f"order_number_field is one of {', '.join(_ORDER_NUMBER_FIELDS)}")
        if self.webhook_check not in tuple(WebhookCheck):
            raise ValueError(f"webhook_check is one of {', '.join(WebhookCheck)}")
        if not re.fullmatch(r"(\.[a-z0-9-]+){2,}", self.certificate_host):
            raise ValueError(
                "certificate_host is the end of a host name with its first dot, as in .paypal.com"
            )
        is_paypal = _is_paypal(self.base_url)
        if self.certificate_base_url and is_paypal:
            raise ValueError("certificate_base_url is for a practice vendor, and base_url is PayPal's")
        if self.certificate_authority == PRACTICE:
            if is_paypal or not self.certificate_base_url:
                raise ValueError(
                    'certificate_authority "practice" is for a practice vendor: it needs base_url and '
                    "certificate_base_url to be that vendor's"
                )
        elif self.certificate_authority:
            read_roots(self.certificate_authority)


def _is_paypal(url: str) -> bool:
    host = f".{(urlsplit(url).hostname or '').rstrip('.')}"
    return host.endswith((".paypal.com", ".paypal.cn"))


def now_utc() -> datetime:
    return datetime.now(UTC)


def build(credentials: Credentials, wire: Wire, now: Callable[[], datetime] = now_utc) -> PayPal:
    return PayPal(
        _connect(credentials, wire, SPEC.platform),
        timedelta(days=int(credentials.refund_window_days)),
        credentials.order_number_field,
        now,
    )


def build_inbound(credentials: Credentials, wire: Wire) -> PayPalInbound:
    """Its connections are paced apart from the connector's: deliveries that are not PayPal's must not hold up refunds."""
    check: SignatureCheck
    if credentials.webhook_check == WebhookCheck.API:
        check = ApiCheck(_connect(credentials, wire, f"{SPEC.platform}.webhooks"))
    else:
        http = wire.http(
            platform=f"{SPEC.platform}.certificates",
            base_url=credentials.certificate_base_url or credentials.base_url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=_CERTIFICATE_READ_S,
            redact=SPEC.redact,
        )
        check = CertificateCheck(
            Certificates(http, is_elsewhere=bool(credentials.certificate_base_url)),
            credentials.certificate_authority,
            credentials.certificate_host,
        )
    return PayPalInbound(credentials.webhook_id, check)


def _connect(credentials: Credentials, wire: Wire, name: str) -> Http:
    """A connection with our token. `name`: whose pace it keeps."""

    def http(**more: Any) -> Http:
        return wire.http(
            platform=name,
            base_url=credentials.base_url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            redact=SPEC.redact,
            **more,
        )

    request = token_request(credentials.client_id, credentials.client_secret)
    return http(tokens=wire.client_credentials(http(), request, shared_as=SPEC.platform))


def token_request(client_id: str, client_secret: Secret) -> Request:
    return Request(
        "POST",
        "/v1/oauth2/token",
        "paypal.token",
        form=[("grant_type", "client_credentials")],
        auth=(client_id, client_secret.reveal()),
    )


@dataclass(frozen=True, slots=True)
class CaptureObject:
    """A capture as PayPal shows it. `status`: its own word; `order_id`, `authorization_id`: where it says them; `reason`: of
    the status; `order_number`: the shop's, from where the settings say that it stands.
    """

    reference: str
    status: str
    amount: Money
    created: datetime | None = None
    order_id: str = ""
    authorization_id: str = ""
    order_number: str = ""
    reason: str = ""

    @property
    def is_paid(self) -> bool:
        return self.status not in ("DECLINED", "FAILED")


@dataclass(frozen=True, slots=True)
class AuthorizationObject:
    """An authorisation as PayPal shows it. `amount`: all of it, whatever was captured meanwhile."""

    reference: str
    status: str
    amount: Money
    order_id: str = ""
    order_number: str = ""


@dataclass(frozen=True, slots=True)
class RefundObject:
    """A refund as PayPal shows it. `status`: None where PayPal has a word for it that we do not know; `capture_id`: what it
    is a refund of; `key_number`: of the key that it was made under (0: not said); `detail`: facts worth keeping.
    """

    reference: str
    amount: Money
    status: RefundStatus | None
    custom_id: str = ""
    capture_id: str = ""
    key_number: int = 0
    why: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OrderObject:
    """The payments of an order."""

    order_id: str
    captures: tuple[CaptureObject, ...]
    authorizations: tuple[AuthorizationObject, ...]
    refunds: tuple[RefundObject, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """What a reference names: a capture, or an authorisation that nothing was captured of; both for one of which a part was.
    `order`: the order, where it had to be read to find out.
    """

    capture: CaptureObject | None = None
    authorization: AuthorizationObject | None = None
    order: OrderObject | None = None


@dataclass(frozen=True, slots=True)
class DisputeObject:
    """`is_partial_refused`: PayPal itself runs the case, and it is not over."""

    reference: str
    state: DisputeState
    is_partial_refused: bool


@dataclass(frozen=True, slots=True)
class PayPal:
    """Refunder and Voider. `refund_window`: how long after the capture PayPal refunds; `now`: aware UTC, to know whether a key
    is still honoured.
    """

    spec: ClassVar[Spec] = SPEC
    http: Http
    refund_window: timedelta = timedelta(days=REFUND_WINDOW_DAYS)
    order_number_field: str = "invoice_id"
    now: Callable[[], datetime] = field(default=now_utc, compare=False)

    def check(self) -> Health:
        response = self.http.send(check_request())
        match response.status, response.json:
            case 200, {"items": list()} | {"links": list()}:
                return Health(True, "the app is accepted and may read disputes")
            case _:
                return Health(False, read_failure(response).reason)

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Three calls for a capture (itself, its disputes, its order; one more per resolved dispute); up to two more where
        the reference names an authorisation. `order_id` is not needed.

        Where PayPal no longer shows the order: nothing and all that was given back are known from the capture's status; some
        is Permanent("refunds_unknown"), because nobody could say how much is left.
        """
        located = self._locate(payment_reference)
        if not isinstance(located, Located):
            return located
        capture = located.capture
        if capture is None:
            if located.authorization is None:
                return Unknown(f"{payment_reference} names no payment that can be read")
            return authorization_facts(located.authorization)
        facts = capture_facts(capture, located.authorization, self.refund_window)
        if not isinstance(facts, PaymentFacts) or facts.captured.minor == 0:
            return facts
        disputes = self._disputes(capture.reference)
        if not isinstance(disputes, list):
            return disputes
        facts = add_disputes(facts, disputes)
        order = located.order or self._order(capture.order_id)
        match order:
            case OrderObject():
                return add_refunds(facts, capture, refunds_of(order, capture.reference))
            case NotFound():
                return without_refunds(facts, capture)
            case _:
                return order

    def refund(self, command: Refund) -> Outcome:
        """One call for a capture's id. For another reference the capture is looked up first (or after PayPal said that it
        knows no such capture, which proves that nothing happened).
        """
        reference = kind_of(command.payment_reference)
        if reference is None:
            return _unknown_reference(command.payment_reference)
        value = to_value(command.amount)
        if value is None or command.amount.minor <= 0:
            return Permanent("amount_unsupported", f"PayPal has no way to write {command.amount}")
        if not _SENDABLE.fullmatch(command.step_key):
            return Permanent("reference_unsupported", "PayPal would not keep our reference as it is")
        if reference.kind is Kind.ORDER:
            capture_id = self._capture_id(command.payment_reference)
            if not isinstance(capture_id, str):
                return capture_id
            return self._refund(command, capture_id, value)
        response = self.http.send(refund_request(command, reference.id, value))
        if not is_unknown_resource(response):
            return self._judge(response, command)
        capture_id = self._capture_id(command.payment_reference)
        match capture_id:
            case str() if capture_id != reference.id:
                return self._refund(command, capture_id, value)
            case str():
                return read_failure(response)
            case _:
                return capture_id

    def find_refund(self, command: Refund) -> Found:
        """Two calls (the capture, its order), and one for the refund as it stands now where it is there.

        Where PayPal no longer shows the order, the key itself speaks: while it is certainly honoured, sending again cannot
        refund twice, and it is answered with what the first call made.
        """
        located = self._locate(command.payment_reference)
        if isinstance(located, NotFound):
            return Unknown(f"could not look: {located.reason}")
        if not isinstance(located, Located):
            return not_seen(located)
        capture = located.capture
        if capture is None:
            return NotFound(CONCLUSIVE_S, "nothing of this payment is captured, so nothing was refunded")
        order = located.order or self._order(capture.order_id)
        match order:
            case NotFound():
                return self._find_by_key(capture, command)
            case OrderObject():
                refunds = refunds_of(order, capture.reference)
            case _:
                return not_seen(order)
        if refunds is None:
            return Unknown("the order's refunds cannot be told apart")
        ours, others = pick_refund(refunds, command)
        if ours is None:
            return judge_absence(capture, refunds, command)
        found = self._read_refund(ours.reference)
        if not isinstance(found, RefundObject):
            return found
        outcome = judge_refund(found, command)
        if others and isinstance(outcome, Done):
            # A person must see it when there are two, whichever way that came about.
            return replace(outcome, detail=f"also refunded by {others}")
        return outcome

    def void_payment(self, command: VoidPayment) -> Outcome:
        """Looks first: PayPal releases all that is left of an authorisation, so one that was captured in part, or is over
        another amount, must not be touched.
        """
        authorization = self._authorization(command.payment_reference)
        if not isinstance(authorization, AuthorizationObject):
            return _nothing_sent(authorization)
        judged = judge_authorization(authorization, command)
        match judged:
            case None:
                response = self.http.send(void_request(command, authorization.reference))
                return read_void(response, command, authorization.reference)
            case Done(reference=reference):
                return AlreadyDone(reference)
            case _:
                return judged

    def find_void_payment(self, command: VoidPayment) -> Found:
        authorization = self._authorization(command.payment_reference)
        match authorization:
            case AuthorizationObject():
                judged = judge_authorization(authorization, command)
                return judged or NotFound(
                    CONCLUSIVE_S, f"the authorisation is not released: {authorization.status}"
                )
            case NotFound(reason=reason):
                return Unknown(f"could not look: {reason}")
            case Permanent(code="captured"):
                return authorization
            case _:
                return not_seen(authorization)

    def _locate(self, reference: str) -> Located | NotFound | NoAnswer:
        """What the reference names. A capture is tried first: that is what shops store most."""
        named = kind_of(reference)
        if named is None:
            return _unknown_reference(reference)
        if named.kind is Kind.ORDER:
            order = self._order(named.id)
            return pick_payment(order) if isinstance(order, OrderObject) else order
        response = self.http.send(capture_request(named.id))
        capture = read_capture(response, named.id, self.order_number_field)
        if isinstance(capture, CaptureObject):
            return Located(capture)
        if not isinstance(capture, NotFound):
            return capture
        authorization = self._authorization(reference)
        if not isinstance(authorization, AuthorizationObject):
            return authorization
        if authorization.status not in ("CAPTURED", "PARTIALLY_CAPTURED"):
            return Located(authorization=authorization)
        order = self._order(authorization.order_id)
        match order:
            case OrderObject():
                return pick_capture(order, authorization)
            case NotFound():
                return Permanent(
                    "capture_unknown",
                    f"{reference} is captured, and PayPal no longer says as what: give the capture's id",
                )
            case _:
                return order

    def _capture_id(self, reference: str) -> str | Outcome:
        """The capture that a refund goes to, or what a refund that was not sent for want of it comes to."""
        match self._locate(reference):
            case Located(capture=CaptureObject(reference=capture_id)):
                return capture_id
            case Located():
                return Permanent("not_captured", f"{reference} is only authorised: release it instead")
            case other:
                return _nothing_sent(other)

    def _authorization(self, reference: str) -> AuthorizationObject | NotFound | NoAnswer:
        named = kind_of(reference)
        if named is None:
            return _unknown_reference(reference)
        if named.kind is Kind.PAYMENT:
            response = self.http.send(authorization_request(named.id))
            return read_authorization(response, named.id, self.order_number_field)
        order = self._order(named.id)
        if not isinstance(order, OrderObject):
            return order
        match pick_payment(order):
            case Located(capture=None, authorization=AuthorizationObject() as authorization):
                return authorization
            case Located():
                return Permanent("captured", f"{reference} is captured: refund it instead")
            case other:
                return other

    def _order(self, order_id: str) -> OrderObject | NotFound | NoAnswer:
        if not _ID.fullmatch(order_id):
            return NotFound(None, "the payment does not name its order")
        response = self.http.send(order_request(order_id))
        return read_order(response, order_id, self.order_number_field)

    def _refund(self, command: Refund, capture_id: str, value: str) -> Outcome:
        return self._judge(self.http.send(refund_request(command, capture_id, value)), command)

    def _judge(self, response: Response, command: Refund) -> Outcome:
        match response.status, response.json:
            case 200 | 201, {"id": str(reference), "status": str()} as value if "amount" not in value:
                # The short form of an answer, which nobody can compare with what was asked for.
                found = self._read_refund(reference)
                return judge_refund(found, command) if isinstance(found, RefundObject) else found
            case 200 | 201, dict() as value:
                refund = read_refund_object(value)
                return judge_refund(refund, command) if refund else Unknown("the refund cannot be read")
            case _:
                return read_failure(response)

    def _read_refund(self, reference: str) -> RefundObject | Retryable | Unknown:
        if not _ID.fullmatch(reference):
            return Unknown("the refund's id cannot be asked for")
        response = self.http.send(get_refund_request(reference))
        match response.status, response.json:
            case 200, {"id": str(found)} as value if found == reference:
                return read_refund_object(value) or Unknown("the refund cannot be read")
            case _:
                failure = not_seen(read_failure(response))
                # It exists, so this is no "certainly nothing happened" for whoever sent it.
                return Unknown(f"{reference} is there and cannot be read: {failure.reason}")

    def _find_by_key(self, capture: CaptureObject, command: Refund) -> Found:
        opened_s = opened_at(command.step_key)
        is_honoured = opened_s > 0 and self.now().timestamp() < opened_s + KEY_TRUSTED.total_seconds()
        if is_honoured:
            # No key of a step is older than its case.
            return NotFound(
                CONCLUSIVE_S,
                f"PayPal no longer shows the order; the capture is {capture.status}, and the key keeps a repeat single",
                KEY_TRUSTED.total_seconds(),
            )
        if capture.status in ("COMPLETED", "DECLINED", "FAILED"):
            return NotFound(CONCLUSIVE_S, f"the capture is {capture.status}: nothing of it was refunded")
        return Unknown(
            f"PayPal no longer shows the order, the capture is {capture.status}, and the key may be forgotten"
        )

    def _disputes(self, capture_id: str) -> list[DisputeObject] | NoAnswer:
        """All disputes about a capture. A list says nothing of how a case ended, so those that did are read."""
        disputes: list[DisputeObject] = []
        token = ""
        for _ in range(_MOST_PAGES):
            page = read_dispute_page(self.http.send(disputes_request(capture_id, token)))
            if not isinstance(page, DisputePage):
                return page
            for value in page.items:
                dispute = self._dispute(value)
                if not isinstance(dispute, DisputeObject):
                    return dispute
                disputes.append(dispute)
            if not page.next_token:
                return disputes
            token = page.next_token
        return Unknown(f"the disputes of {capture_id} go on after {_MOST_PAGES} pages")

    def _dispute(self, value: Any) -> DisputeObject | NoAnswer:
        match value:
            case {"dispute_id": str(reference), "status": "RESOLVED"} if _DISPUTE_ID.fullmatch(reference):
                response = self.http.send(dispute_request(reference))
                match response.status, response.json:
                    case 200, {"dispute_id": str(found)} as whole if found == reference:
                        return read_dispute_object(whole) or Unknown("the dispute cannot be read")
                    case _:
                        return read_failure(response)
            case _:
                return read_dispute_object(value) or Unknown("the list of disputes cannot be read")


class Kind(StrEnum):
    """What a reference names: a capture or an authorisation (their ids look alike), or an order."""

    PAYMENT = "payment"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Reference:
    kind: Kind
    id: str


_ID: Final = re.compile(r"[0-9A-Z_]{1,64}")
_DISPUTE_ID: Final = re.compile(r"[A-Za-z0-9-]{1,255}")
#: What PayPal promises to give back of a `custom_id` as it was.
_SENDABLE: Final = re.compile(r"[A-Za-z0-9\-_.,]{1,127}")
#: What our references look like: a `custom_id` may also be the shop's own.
_OURS: Final = re.compile(r"RF-[0-9A-Z]{15}\.[a-z_]+\.[0-9]{1,9}")


def kind_of(reference: str) -> Reference | None:
    """What a reference names; None for anything that must not be put into a path."""
    is_order = reference.startswith("order:")
    named = reference.removeprefix("order:")
    if not _ID.fullmatch(named):
        return None
    return Reference(Kind.ORDER if is_order else Kind.PAYMENT, named)


def _unknown_reference(reference: str) -> Permanent:
    return Permanent(
        "unknown_reference",
        f"{reference!r:.90} is no payment of PayPal (a capture's or authorisation's id, or order:<id>)",
    )


def _nothing_sent(failure: NotFound | NoAnswer) -> Outcome:
    """What an effect comes to whose look beforehand failed: certainly nothing happened."""
    match failure:
        case NotFound(reason=reason):
            return Permanent("unknown_reference", reason)
        case Unknown(reason=reason):
            return Retryable("unavailable", f"nothing was sent: {reason}")
        case _:
            return failure


# Currencies without decimals here that have two by ISO 4217 (https://developer.paypal.com/api/rest/reference/currency-codes/,
# as copies of that list have it, read 2026-11-25).
_WHOLE: Final = frozenset({"HUF", "TWD"})


def to_value(amount: Money) -> str | None:
    """The amount as PayPal writes it, or None where that cannot be said exactly."""
    if amount.currency not in _WHOLE:
        return amount.major
    units, rest = divmod(amount.minor, 10 ** exponent_of(amount.currency))
    return None if rest else str(units)


def read_money(value: Any) -> Money | None:
    """An amount of PayPal's as money, or None where it is none."""
    match value:
        case {"currency_code": str(currency), "value": str(text)} if re.fullmatch(
            r"[0-9]{1,15}(\.[0-9]{1,4})?", text
        ):
            try:
                return Money.from_major(Decimal(text), currency)
            except ValueError:
                return None
        case _:
            return None


def request_id(key: str) -> str:
    """The `PayPal-Request-Id` of one of our keys: a UUID, the same for the same key for ever."""
    return str(uuid.uuid5(_NAMESPACE, key))


def _key_number(key: str) -> int:
    """The number at the end of a wire key; 0 where there is none."""
    number = key.rpartition(":")[2]
    return int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0


def invoice_id_of(command: Refund) -> str:
    """No two refunds may share one: ours is made of the step and the number of its key."""
    return f"{command.step_key}-{_key_number(command.key)}"


# ---------------------------------------------------------------- requests


def check_request() -> Request:
    return Request("GET", "/v1/customer/disputes", "paypal.check", params=[("page_size", "1")])


def capture_request(capture_id: str) -> Request:
    return Request("GET", f"/v2/payments/captures/{capture_id}", "paypal.read_capture")


def authorization_request(authorization_id: str) -> Request:
    return Request("GET", f"/v2/payments/authorizations/{authorization_id}", "paypal.read_authorization")


def order_request(order_id: str) -> Request:
    return Request("GET", f"/v2/checkout/orders/{order_id}", "paypal.read_order")


def get_refund_request(refund_id: str) -> Request:
    return Request("GET", f"/v2/payments/refunds/{refund_id}", "paypal.find_refund")


def disputes_request(capture_id: str, token: str = "") -> Request:
    params = [("disputed_transaction_id", capture_id), ("page_size", str(_PAGE))]
    return Request(
        "GET",
        "/v1/customer/disputes",
        "paypal.list_disputes",
        params=[*params, ("next_page_token", token)] if token else params,
    )


def dispute_request(dispute_id: str) -> Request:
    return Request("GET", f"/v1/customer/disputes/{dispute_id}", "paypal.read_dispute")


def refund_request(command: Refund, capture_id: str, value: str) -> Request:
    """The same bytes for the same command: what another body under a used id does is not written anywhere."""
    note = f"Refund for order {command.order_number}"[:255] if command.order_number else ""
    return Request(
        "POST",
        f"/v2/payments/captures/{capture_id}/refund",
        "paypal.refund",
        headers={"PayPal-Request-Id": request_id(command.key), "Prefer": "return=representation"},
        json={
            "amount": {"currency_code": command.amount.currency, "value": value},
            "custom_id": command.step_key,
            "invoice_id": invoice_id_of(command),
            **({"note_to_payer": note} if note else {}),
        },
    )


def void_request(command: VoidPayment, authorization_id: str) -> Request:
    return Request(
        "POST",
        f"/v2/payments/authorizations/{authorization_id}/void",
        "paypal.void_payment",
        headers={
            # PayPal wants the type on every POST, this one's body being empty all the same.
            "Content-Type": "application/json",
            "PayPal-Request-Id": request_id(command.key),
            "Prefer": "return=representation",
        },
    )


def verify_request(signed: Transmission, webhook_id: str, event: str) -> Request:
    """`event`: the delivery as it came. It is put into the document as it is: written anew, its CRC would be another."""
    about = {
        "auth_algo": signed.algorithm,
        "cert_url": signed.certificate_url,
        "transmission_id": signed.id,
        "transmission_sig": signed.signature,
        "transmission_time": signed.time,
        "webhook_id": webhook_id,
    }
    return Request(
        "POST",
        "/v1/notifications/verify-webhook-signature",
        "paypal.verify_webhook",
        headers={"Content-Type": "application/json"},
        body=f'{json.dumps(about)[:-1]}, "webhook_event": {event}}}'.encode(),
    )


# ---------------------------------------------------------------- readers


def _text(value: Any, *path: str) -> str:
    """The text at a path of names, empty where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _time(value: Any) -> datetime | None:
    """An aware UTC time, or None where there is none that can be read."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None


def _up(value: Mapping[str, Any], kind: str) -> str:
    """The id of the parent of that kind (`captures`, `authorizations`), from the links; empty where none is named."""
    links = value.get("links")
    for link in links if isinstance(links, list) else ():
        match link:
            case {"rel": "up", "href": str(href)}:
                found = re.search(rf"/v2/payments/{kind}/([0-9A-Z_]{{1,64}})(?:[/?]|$)", href)
                if found:
                    return found[1]
            case _:
                continue
    return ""


def read_capture_object(value: Any, number_field: str) -> CaptureObject | None:
    match value:
        case {"id": str(reference), "status": str(status), "amount": amount} if _ID.fullmatch(reference):
            money = read_money(amount)
            if money is None:
                return None
            related = ("supplementary_data", "related_ids")
            return CaptureObject(
                reference,
                status,
                money,
                _time(value.get("create_time")),
                _text(value, *related, "order_id"),
                _text(value, *related, "authorization_id") or _up(value, "authorizations"),
                _text(value, number_field),
                _text(value, "status_details", "reason"),
            )
        case _:
            return None


def read_authorization_object(value: Any, number_field: str) -> AuthorizationObject | None:
    match value:
        case {"id": str(reference), "status": str(status), "amount": amount} if _ID.fullmatch(reference):
            money = read_money(amount)
            if money is None:
                return None
            order_id = _text(value, "supplementary_data", "related_ids", "order_id")
            return AuthorizationObject(reference, status, money, order_id, _text(value, number_field))
        case _:
            return None


_REFUND_STATUSES: Final[Mapping[str, RefundStatus]] = {
    "COMPLETED": RefundStatus.SUCCEEDED,
    "PENDING": RefundStatus.PENDING,
    "FAILED": RefundStatus.FAILED,
    "CANCELLED": RefundStatus.FAILED,
}


def read_refund_object(value: Any) -> RefundObject | None:
    match value:
        case {"id": str(reference), "status": str(status), "amount": amount} if reference:
            money = read_money(amount)
            if money is None:
                return None
            custom_id, invoice_id = _text(value, "custom_id"), _text(value, "invoice_id")
            number = invoice_id.removeprefix(f"{custom_id}-") if custom_id else ""
            fee = read_money(_member(value.get("seller_payable_breakdown"), "paypal_fee"))
            arn = _text(value, "acquirer_reference_number")
            return RefundObject(
                reference,
                money,
                _REFUND_STATUSES.get(status),
                custom_id,
                _up(value, "captures"),
                int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0,
                _text(value, "status_details", "reason") or status,
                "; ".join(
                    [*([f"fee returned: {fee}"] if fee else []), *([f"card reference {arn}"] if arn else [])]
                ),
            )
        case _:
            return None


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def read_capture(
    response: Response, capture_id: str, number_field: str
) -> CaptureObject | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"id": str(found)} as value if found == capture_id:
            return read_capture_object(value, number_field) or Unknown(f"{capture_id} cannot be read")
        case _ if is_unknown_resource(response):
            return _NO_PAYMENT
        case _:
            return read_failure(response)


def read_authorization(
    response: Response, authorization_id: str, number_field: str
) -> AuthorizationObject | NotFound | NoAnswer:
    match response.status, response.json:
        case 200, {"id": str(found)} as value if found == authorization_id:
            return read_authorization_object(value, number_field) or Unknown(
                f"{authorization_id} cannot be read"
            )
        case _ if is_unknown_resource(response):
            return _NO_PAYMENT
        case _:
            return read_failure(response)


_NO_PAYMENT: Final = NotFound(
    0.0, "no such payment in this account and environment (an order's id is written order:<id>)"
)


def read_order(response: Response, order_id: str, number_field: str) -> OrderObject | NotFound | NoAnswer:
    """The order's payments, or Unknown where one of them cannot be read: it might be ours."""
    match response.status, response.json:
        case 200, {"id": str(found), "purchase_units": list(units)} if found == order_id and units:
            pass
        case _ if is_unknown_resource(response):
            return NotFound(None, f"PayPal shows no order {order_id} (any more)")
        case _:
            return read_failure(response)
    unreadable = Unknown(f"the payments of order {order_id} cannot be read")
    captures: list[CaptureObject] = []
    authorizations: list[AuthorizationObject] = []
    refunds: list[RefundObject] = []
    for unit in units:
        payments = unit.get("payments", {}) if isinstance(unit, dict) else None
        if not isinstance(payments, dict):
            return unreadable
        for name in ("captures", "authorizations", "refunds"):
            listed = payments.get(name, [])
            for value in listed if isinstance(listed, list) else [None]:
                capture = read_capture_object(value, number_field) if name == "captures" else None
                held = read_authorization_object(value, number_field) if name == "authorizations" else None
                refund = read_refund_object(value) if name == "refunds" else None
                if capture is not None:
                    captures.append(replace(capture, order_id=order_id))
                elif held is not None:
                    authorizations.append(replace(held, order_id=order_id))
                elif refund is not None:
                    refunds.append(refund)
                else:
                    return unreadable
    return OrderObject(order_id, tuple(captures), tuple(authorizations), tuple(refunds))


def pick_payment(order: OrderObject) -> Located | NotFound | Permanent:
    """The one payment of an order. Several are never guessed between; ones that came to nothing do not count."""
    paid = [c for c in order.captures if c.is_paid]
    held = [a for a in order.authorizations if a.status in ("CREATED", "PENDING")]
    if len(paid) + len(held) > 1:
        names = ", ".join([*(c.reference for c in paid), *(a.reference for a in held)])
        return Permanent("ambiguous", f"order {order.order_id} has several payments: {names}")
    if paid:
        rest = [a for a in order.authorizations if a.status == "PARTIALLY_CAPTURED"]
        return Located(paid[0], rest[0] if rest else None, order)
    if held:
        return Located(authorization=held[0], order=order)
    released = [a for a in order.authorizations if a.status in ("VOIDED", "DENIED")]
    if released:
        return Located(authorization=released[0], order=order)
    if order.captures:
        return Located(order.captures[0], order=order)
    return NotFound(0.0, f"order {order.order_id} has no payment")


def pick_capture(order: OrderObject, authorization: AuthorizationObject) -> Located | NoAnswer:
    """The one capture of an authorisation."""
    captures = [c for c in order.captures if c.authorization_id == authorization.reference and c.is_paid]
    match captures:
        case [capture]:
            is_partial = authorization.status == "PARTIALLY_CAPTURED"
            return Located(capture, authorization if is_partial else None, order)
        case []:
            return Unknown(f"{authorization.reference} is captured, and its order does not show as what")
        case _:
            names = ", ".join(c.reference for c in captures)
            return Permanent("ambiguous", f"{authorization.reference} was captured several times: {names}")


def authorization_facts(authorization: AuthorizationObject) -> PaymentFacts | NoAnswer:
    nothing = Money(0, authorization.amount.currency)
    match authorization.status:
        case "CREATED":
            state, held = PaymentState.AUTHORISED, authorization.amount
        case "VOIDED":
            state, held = PaymentState.VOIDED, nothing
        case "DENIED":
            state, held = PaymentState.NOT_PAID, nothing
        case "PENDING":
            return _undecided(authorization.reference)
        case status:
            return Unknown(f"{authorization.reference} has a status that we do not know: {status!r:.60}")
    return PaymentFacts(
        platform=SPEC.platform,
        reference=authorization.reference,
        state=state,
        authorised=held,
        captured=nothing,
        order_number=authorization.order_number,
    )


def capture_facts(
    capture: CaptureObject, authorization: AuthorizationObject | None, refund_window: timedelta
) -> PaymentFacts | NoAnswer:
    """The capture without its refunds and disputes. `authorization`: where only a part of it was captured."""
    nothing = Money(0, capture.amount.currency)
    match capture.status:
        case "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED":
            pass
        case "DECLINED" | "FAILED":
            return PaymentFacts(
                platform=SPEC.platform,
                reference=capture.reference,
                state=PaymentState.NOT_PAID,
                authorised=nothing,
                captured=nothing,
                order_number=capture.order_number,
            )
        case "PENDING":
            return _undecided(capture.reference)
        case status:
            return Unknown(f"{capture.reference} has a status that we do not know: {status!r:.60}")
    held = nothing
    if authorization is not None and authorization.amount.currency == capture.amount.currency:
        held = Money(max(0, authorization.amount.minor - capture.amount.minor), nothing.currency)
    return PaymentFacts(
        platform=SPEC.platform,
        reference=capture.reference,
        state=PaymentState.CAPTURED,
        authorised=held,
        captured=capture.amount,
        # Provisional: the list of disputes says which; without one there, money may be gone all the same.
        dispute=_DISPUTED_BY_REASON.get(capture.reason, DisputeState.NONE),
        refundable_until=capture.created + refund_window if capture.created else None,
        order_number=capture.order_number,
    )


_DISPUTED_BY_REASON: Final[Mapping[str, DisputeState]] = {
    "CHARGEBACK": DisputeState.OPEN,
    "BUYER_COMPLAINT": DisputeState.WARNING,
}


def _undecided(reference: str) -> Retryable:
    """Neither paid nor unpaid yet: calling it unpaid would close a case whose money arrives tomorrow."""
    return Retryable("unavailable", f"{reference} is still pending at PayPal and may yet be paid", 900.0)


def refunds_of(order: OrderObject, capture_id: str) -> tuple[RefundObject, ...] | None:
    """The refunds of one of the order's captures, or None where one of them does not say of which it is."""
    if len(order.captures) == 1:
        return tuple(r for r in order.refunds if r.capture_id in ("", capture_id))
    if any(not r.capture_id for r in order.refunds):
        return None
    return tuple(r for r in order.refunds if r.capture_id == capture_id)


def _given_back(refunds: Iterable[RefundObject]) -> int:
    """Minor units. One whose status we do not know counts: its money may be gone."""
    return sum(r.amount.minor for r in refunds if r.status is not RefundStatus.FAILED)


def add_refunds(
    facts: PaymentFacts, capture: CaptureObject, refunds: Sequence[RefundObject] | None
) -> PaymentFacts | NoAnswer:
    if refunds is None:
        return Unknown("the order's refunds cannot be told apart")
    if any(r.amount.currency != facts.captured.currency for r in refunds):
        return Unknown("a refund is in another currency than its payment")
    if capture.status == "PARTIALLY_REFUNDED" and not _given_back(refunds):
        return without_refunds(facts, capture)
    listed = tuple(
        RefundFact(
            r.reference,
            r.amount,
            r.status or RefundStatus.PENDING,
            r.custom_id if _OURS.fullmatch(r.custom_id) else "",
        )
        for r in refunds
    )
    missing = facts.captured.minor - _given_back(refunds)
    if capture.status == "REFUNDED" and missing > 0:
        # What a lost case or a reversal took is no refund of the order, and gone all the same.
        rest = Money(missing, facts.captured.currency)
        listed = (*listed, RefundFact(capture.reference, rest, RefundStatus.SUCCEEDED))
    return replace(facts, refunds=listed)


def without_refunds(facts: PaymentFacts, capture: CaptureObject) -> PaymentFacts | Permanent:
    """The facts of a capture whose refunds PayPal does not show: only as much as its status says."""
    match capture.status:
        case "COMPLETED":
            return facts
        case "REFUNDED":
            gone = RefundFact(capture.reference, facts.captured, RefundStatus.SUCCEEDED)
            why = "PayPal says that all of it went back, and no longer shows by which refunds"
            return replace(facts, refunds=(gone,), refund_refusal=why)
        case _ if facts.dispute in (DisputeState.OPEN, DisputeState.LOST):
            # Nothing of it is refundable, however much is left.
            return facts
        case _:
            return Permanent(
                "refunds_unknown",
                f"{capture.reference} was refunded in part, and PayPal does not show how much: read it in the PayPal account "
                "and refund the rest there",
            )


#: From harmless to the one that forbids a refund for sure: of several disputes the gravest speaks.
_GRAVITY: Final = (
    DisputeState.NONE,
    DisputeState.WON,
    DisputeState.WARNING,
    DisputeState.LOST,
    DisputeState.OPEN,
)


def add_disputes(facts: PaymentFacts, disputes: Iterable[DisputeObject]) -> PaymentFacts:
    seen = list(disputes)
    worst = max(seen, key=lambda d: _GRAVITY.index(d.state), default=None)
    if worst is None:
        return facts
    return replace(
        facts,
        dispute=worst.state,
        dispute_reference=worst.reference,
        is_part_refundable=not any(d.is_partial_refused for d in seen),
    )


@dataclass(frozen=True, slots=True)
class DisputePage:
    """One page of the list. `next_token`: asks for the next one, empty on the last."""

    items: list[Any]
    next_token: str


def read_dispute_page(response: Response) -> DisputePage | NoAnswer:
    match response.status, response.json:
        # A list without entries has no list at all.
        case 200, {"items": list(items)} as value:
            return DisputePage(items, _next_token(value))
        case 200, {"links": list()} as value if "items" not in value:
            return DisputePage([], _next_token(value))
        case _:
            return read_failure(response)


def _next_token(value: Mapping[str, Any]) -> str:
    links = value.get("links")
    for link in links if isinstance(links, list) else ():
        match link:
            case {"rel": "next", "href": str(href)}:
                token = parse_qs(href.partition("?")[2]).get("next_page_token", [""])[0]
                if re.fullmatch(r"[A-Za-z0-9+/=]{1,255}", token):
                    return token
            case _:
                continue
    return ""


_OUTCOMES: Final[Mapping[str, DisputeState]] = {
    "RESOLVED_SELLER_FAVOUR": DisputeState.WON,
    "CANCELED_BY_BUYER": DisputeState.WON,
    "DENIED": DisputeState.WON,
    "RESOLVED_BUYER_FAVOUR": DisputeState.LOST,
    "ACCEPTED": DisputeState.LOST,
    "RESOLVED_WITH_PAYOUT": DisputeState.LOST,  # the customer has the money, whoever paid it
}


def dispute_state(value: Mapping[str, Any]) -> DisputeState:
    """How far a dispute is. A word that is new to us counts as open: nothing is refunded until a person has read it.

    Only an inquiry that runs at PayPal is a mere warning: the seller is asked, and no money is taken yet.
    """
    if value.get("status") == "RESOLVED":
        return _OUTCOMES.get(_text(value, "dispute_outcome", "outcome_code"), DisputeState.OPEN)
    if value.get("dispute_channel") == "EXTERNAL":
        return DisputeState.OPEN
    return DisputeState.WARNING if value.get("dispute_life_cycle_stage") == "INQUIRY" else DisputeState.OPEN


def read_dispute_object(value: Any) -> DisputeObject | None:
    match value:
        case {"dispute_id": str(reference), "status": str(status)} if reference:
            # Not said to come from outside counts as PayPal's own: asking for less than the rest would be refused.
            is_own = status != "RESOLVED" and value.get("dispute_channel") != "EXTERNAL"
            return DisputeObject(reference, dispute_state(value), is_own)
        case _:
            return None


def judge_refund(refund: RefundObject, command: Refund) -> Outcome:
    """What a refund that exists at PayPal is worth, beside what was asked for."""
    if refund.custom_id and refund.custom_id != command.step_key:
        return Unknown(f"{refund.reference} carries another reference than ours")
    if refund.amount != command.amount:
        return Permanent(
            "amount_mismatch",
            f"asked for {command.amount}, PayPal has {refund.amount} as {refund.reference}",
        )
    match refund.status:
        case RefundStatus.SUCCEEDED:
            return Done(refund.reference, refund.detail)
        case RefundStatus.PENDING:
            return Pending(refund.reference)
        case RefundStatus.FAILED:
            return Permanent("refund_failed", f"{refund.reference}: {refund.why}")
        case None:
            return Unknown(f"{refund.reference} has a status that we do not know: {refund.why!r:.60}")


def pick_refund(refunds: Iterable[RefundObject], command: Refund) -> tuple[RefundObject | None, str]:
    """Our refund among those of the capture, and the references of any further living ones of ours.

    One that lives speaks before one that failed, and a failed one of an earlier key than the command's does not speak at all.
    """
    ours = [r for r in refunds if r.custom_id == command.step_key]
    living = [r for r in ours if r.status is not RefundStatus.FAILED]
    if living:
        return living[0], ", ".join(r.reference for r in living[1:])
    failed = [r for r in ours if not r.key_number or r.key_number >= _key_number(command.key)]
    return (failed[0] if failed else None), ""


def judge_absence(capture: CaptureObject, refunds: Sequence[RefundObject], command: Refund) -> Found:
    """None of the capture's refunds is ours."""
    given = _given_back(refunds)
    left = capture.amount.minor - given
    is_explained = {"REFUNDED": left <= 0, "PARTIALLY_REFUNDED": given > 0}.get(capture.status, True)
    if not is_explained:
        # The list lags behind, or a reversal took the money: neither is a proof of anything.
        return Unknown(f"{capture.reference} is {capture.status}, and its order does not show by what")
    if given and left < command.amount.minor:
        return Permanent(
            "refunded_elsewhere",
            f"{Money(given, capture.amount.currency)} of {capture.amount} went back by other refunds: "
            f"{command.amount} are not left",
        )
    return NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference")


def judge_authorization(authorization: AuthorizationObject, command: VoidPayment) -> Done | Permanent | None:
    """Whether there is anything to release: None where there is, all of it and no more than asked for."""
    match authorization.status:
        case "CAPTURED" | "PARTIALLY_CAPTURED":
            return _captured(authorization.reference)
        case "DENIED":
            return Permanent("not_voidable", f"{authorization.reference} was denied: nothing is held")
        case status if authorization.amount != command.amount:
            verb = "released" if status == "VOIDED" else "holds"
            return Permanent(
                "amount_mismatch",
                f"asked to release {command.amount}, PayPal {verb} {authorization.amount}",
            )
        case "VOIDED":
            return Done(authorization.reference)
        case _:
            return None


def _captured(reference: str) -> Permanent:
    return Permanent("captured", f"{reference} was captured meanwhile: refund the capture instead")


def read_void(response: Response, command: VoidPayment, authorization_id: str) -> Outcome:
    match response.status, response.json:
        case 204, _:
            return Done(authorization_id)
        case 200, {"id": str(found), "status": "VOIDED", "amount": amount} if found == authorization_id:
            released = read_money(amount)
            if released is None:
                return Unknown("the released amount cannot be read")
            if released != command.amount:
                return Permanent(
                    "amount_mismatch", f"asked to release {command.amount}, PayPal released {released}"
                )
            return Done(authorization_id)
        case _:
            pass
    match read_failure(response):
        case Permanent(code="PREVIOUSLY_VOIDED"):
            return AlreadyDone(authorization_id)
        case Permanent(code="PREVIOUSLY_CAPTURED"):
            return _captured(authorization_id)
        case Permanent(code="CANNOT_BE_VOIDED" as code, reason=reason):
            return Permanent(code, f"{reason}; a reauthorisation is released by voiding the one it came from")
        case failure:
            return failure


# ---------------------------------------------------------------- refusals


class Means(StrEnum):
    """What an issue is worth. LOOK: it may be so already, or soon, by us. AGAIN: not now. DISPUTED: a case forbids it."""

    LOOK = "look"
    AGAIN = "again"
    DISPUTED = "disputed"


#: Issues that are more than a plain no. All others are: the call was understood and refused.
REFUSALS: Final[Mapping[str, Means]] = {
    "CAPTURE_FULLY_REFUNDED": Means.LOOK,
    "DUPLICATE_INVOICE_ID": Means.LOOK,
    "PAYPAL_REQUEST_ID_PREVIOUSLY_USED": Means.LOOK,
    "PREVIOUS_REQUEST_IN_PROGRESS": Means.LOOK,
    "RESOURCE_CONFLICT": Means.LOOK,
    "PENDING_CAPTURE": Means.AGAIN,
    "REFUND_FAILED_INSUFFICIENT_FUNDS": Means.AGAIN,
    "RATE_LIMIT_REACHED": Means.AGAIN,
    "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK": Means.DISPUTED,
    "TRANSACTION_DISPUTED": Means.DISPUTED,
}

#: When to come again, in seconds: a bank takes days, a shop that is told to top up its balance some hours.
_AGAIN_S: Final[Mapping[str, float]] = {
    "PENDING_CAPTURE": _DAY_S / 2,
    "REFUND_FAILED_INSUFFICIENT_FUNDS": _DAY_S / 4,
}

#: What a person should know, where PayPal's word is not enough.
_ADVICE: Final[Mapping[str, str]] = {
    "CAPTURE_FULLY_REFUNDED": "look who did it",
    "DUPLICATE_INVOICE_ID": "look whether it is ours",
    "INVALID_RESOURCE_ID": "no such id here: often an order's id, or the other environment (live or sandbox)",
    "PENDING_CAPTURE": "the payment has not arrived yet",
    "REFUND_FAILED_INSUFFICIENT_FUNDS": "top up the PayPal balance or link a bank account",
    "REFUND_IS_RESTRICTED": "only the REST app that took the payment can refund it",
    "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK": "the bank is taking the money back, no refund is due",
    "TRANSACTION_DISPUTED": "a case is open: answer it in the PayPal account, where it can be refunded too",
}

#: How long we wait after "too many" where PayPal does not say, which is its custom.
_THROTTLED_S: Final = 5.0


def is_unknown_resource(response: Response) -> bool:
    """Whether PayPal says, in its own words, that there is no such thing. A page of somebody else's in between does not."""
    match response.status, response.json:
        case 404, {"name": "RESOURCE_NOT_FOUND"}:
            return True
        case 404, _:
            return "INVALID_RESOURCE_ID" in _issues(response)
        case _:
            return False


def _issues(response: Response) -> list[str]:
    match response.json:
        case {"details": [*details]}:
            return [issue for d in details if (issue := _text(d, "issue"))]
        case _:
            return []


def read_failure(response: Response) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for: an explicit no, a "not now", or nothing that can be trusted."""
    issues, about = _issues(response), _about(response)
    match response.status, response.json:
        case 401, _ if "INVALID_ACCOUNT_STATUS" in issues:
            return Permanent("INVALID_ACCOUNT_STATUS", f"the PayPal account is closed or locked{about}")
        case 401 | 403 as status, _:
            return Retryable(
                "unauthorised",
                f"PayPal refuses our app ({status}): check REFUNDFLOW_PAYPAL_CLIENT_ID, its secret and the app's features{about}",
            )
        case 429, _:
            after_s = response.retry_after_s
            return Retryable(
                "throttled",
                f"PayPal is asked too often{about}",
                _THROTTLED_S if after_s is None else after_s,
            )
        case 409, _:
            return Unknown(f"an earlier call is still at work{about}")
        case status, {"name": str(name)} if 400 <= status < 500 and status != 408:
            return _read_refusal([*issues, *([] if issues else [name])], about)
        case status, _:
            return Unknown(f"no clear answer, status {status}{about}")


def _read_refusal(issues: Sequence[str], about: str) -> Retryable | Permanent | Unknown:
    """Of several issues the one speaks that is the least of a plain no."""
    order = (Means.LOOK, Means.DISPUTED, Means.AGAIN)
    known = sorted((i for i in issues if i in REFUSALS), key=lambda i: order.index(REFUSALS[i]))
    issue = known[0] if known else issues[0]
    advice = _ADVICE.get(issue, "")
    reason = f"{issue}{f': {advice}' if advice else ''}{about}"
    match REFUSALS.get(issue):
        case Means.LOOK:
            return Unknown(reason)
        case Means.AGAIN:
            return Retryable("unavailable", reason, _AGAIN_S.get(issue, _THROTTLED_S))
        case _:
            return Permanent(issue, reason)


def _about(response: Response) -> str:
    """PayPal's own words for people, and its id of the call, which its support asks for."""
    said = _text(response.json, "message") or _text(response.json, "error_description")
    match response.json:
        case {"details": [{"description": str(told)}, *_]}:
            said = told
        case _:
            pass
    debug_id = response.headers.get("paypal-debug-id", "") or _text(response.json, "debug_id")
    return f"{f': {said[:200]}' if said else ''}{f' ({debug_id[:60]})' if debug_id else ''}"


def not_seen(failure: NoAnswer) -> Retryable | Unknown:
    """A look that was refused: a no to the question is no word about the effect."""
    match failure:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


# ---------------------------------------------------------------- events


_REFUND_TOPICS: Final = frozenset(
    {"PAYMENT.CAPTURE.REFUNDED", "PAYMENT.REFUND.PENDING", "PAYMENT.REFUND.FAILED"}
)
_CERTIFICATE_READ_S: Final = 8.0
_MOST_CERTIFICATES: Final = 16
_ALGORITHM: Final = "SHA256withRSA"


@dataclass(frozen=True, slots=True)
class Transmission:
    """What the headers of a delivery say about its signature."""

    id: str
    time: str
    signature: str
    certificate_url: str
    algorithm: str


def read_transmission(headers: Mapping[str, str]) -> Transmission | None:
    """None where one of the five is missing, or is longer than any that PayPal sends."""
    names = ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo")
    values = [headers.get(f"paypal-{name}", "") for name in names]
    if not all(0 < len(value) <= 1000 for value in values):
        return None
    return Transmission(*values)


def signed_message(signed: Transmission, webhook_id: str, body: bytes) -> bytes:
    """What the signature covers: of the body its CRC-32, as an unsigned decimal number."""
    return f"{signed.id}|{signed.time}|{webhook_id}|{zlib.crc32(body)}".encode()


class SignatureCheck(Protocol):
    def refusal(self, signed: Transmission, webhook_ids: Sequence[str], body: bytes, now: datetime) -> str:
        """Why the delivery is not PayPal's; empty where it is. Raises NotSentError or MaybeSentError where that cannot be
        found out now.
        """


class Certificates:
    """PayPal's certificates by their address, kept in memory: the newest 16 that were fetched.

    `is_elsewhere`: the connection leads to a practice vendor, which has PayPal's addresses under its own.
    """

    def __init__(self, http: Http, *, is_elsewhere: bool = False) -> None:
        self._http = http
        self._is_elsewhere = is_elsewhere
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[x509.Certificate, ...]] = OrderedDict()

    def at(self, url: str) -> tuple[x509.Certificate, ...]:
        """The certificate and what PayPal sends along to prove it; empty where PayPal has none there. Raises NotSentError or
        MaybeSentError where it could not be had now.
        """
        with self._lock:
            kept = self._kept.get(url)
        if kept is not None:
            return kept
        chain = read_certificates(
            self._http.send(certificate_request(urlsplit(url).path if self._is_elsewhere else url))
        )
        if chain:
            with self._lock:
                self._kept[url] = chain
                while len(self._kept) > _MOST_CERTIFICATES:
                    self._kept.popitem(last=False)
        return chain

    def forget(self, url: str) -> None:
        """Fetched anew next time."""
        with self._lock:
            self._kept.pop(url, None)


def certificate_request(path: str) -> Request:
    return Request("GET", path, "paypal.fetch_certificate", headers={"Accept": "*/*"})


def read_certificates(response: Response) -> tuple[x509.Certificate, ...]:
    """Empty where there is no such certificate. Raises NotSentError where the answer is neither that nor a certificate: the
    delivery must come again, and not be taken for a forgery.
    """
    if response.status in (404, 410):
        return ()
    if response.status != 200:
        raise NotSentError(f"PayPal's certificate could not be fetched: status {response.status}")
    try:
        return tuple(x509.load_pem_x509_certificates(response.body))
    except ValueError as error:
        raise NotSentError("what PayPal sent for its certificate is none") from error


def address_refusal(url: str, host_ending: str) -> str:
    """Why no certificate is fetched from there; empty where it is PayPal's. Plain addresses only: no user, no port, no query,
    nothing that two readers of a URL could understand in two ways.
    """
    found = re.fullmatch(r"https://((?:[a-z0-9-]{1,63}\.)+[a-z]{2,63})(?:/[A-Za-z0-9._-]{1,200}){1,8}", url)
    if found is None or not found[1].endswith(host_ending):
        return "the certificate's address is not PayPal's"
    return ""


@lru_cache(maxsize=4)
def read_roots(path: str) -> Store:
    """The certificates of a file, as what others are checked against. Raises ValueError."""
    try:
        return Store(x509.load_pem_x509_certificates(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ValueError(f"certificate_authority {path!r} is no file of certificates (PEM)") from error


@lru_cache(maxsize=1)
def public_roots() -> Store:
    """The public authorities. One that cannot be read vouches for nobody: some are older than today's rules for them."""
    blocks = re.findall(
        rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n",
        Path(certifi.where()).read_bytes(),
        re.DOTALL,
    )
    roots: list[x509.Certificate] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in blocks:
            with suppress(ValueError):
                roots.append(x509.load_pem_x509_certificate(block))
    return Store(roots)


def trust_refusal(chain: Sequence[x509.Certificate], authority: str, name_ending: str, now: datetime) -> str:
    """Why the certificate is not believed to be PayPal's; empty where it is."""
    leaf, *others = chain
    names = [str(a.value).lower() for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or not names[0].endswith(name_ending):
        return "the certificate is not in PayPal's name"
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return "the certificate is not valid now"
    try:
        if authority == PRACTICE:
            leaf.verify_directly_issued_by(leaf)
        else:
            store = read_roots(authority) if authority else public_roots()
            policy = PolicyBuilder().store(store).time(now)
            policy.build_server_verifier(x509.DNSName(names[0])).verify(leaf, others)
    except (VerificationError, InvalidSignature, ValueError, TypeError):
        return "the certificate is not vouched for by an authority that we trust"
    return ""


@dataclass(frozen=True, slots=True)
class CertificateCheck:
    """Checks signatures here, with the certificate that the delivery names. `authority`, `host_ending`: as in Credentials."""

    certificates: Certificates
    authority: str = ""
    host_ending: str = ".paypal.com"

    def refusal(self, signed: Transmission, webhook_ids: Sequence[str], body: bytes, now: datetime) -> str:
        why = address_refusal(signed.certificate_url, self.host_ending)
        if why:
            return why
        try:
            signature = base64.b64decode(signed.signature, validate=True)
        except ValueError:
            return "the signature cannot be read"
        chain = self.certificates.at(signed.certificate_url)
        if not chain:
            return "there is no such certificate at PayPal"
        why = trust_refusal(chain, self.authority, self.host_ending, now)
        if why:
            self.certificates.forget(signed.certificate_url)
            return why
        key = chain[0].public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return "the certificate's key is of another kind than the signature"
        for webhook_id in webhook_ids:
            try:
                message = signed_message(signed, webhook_id, body)
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                continue
            return ""
        return "the signature does not match"


@dataclass(frozen=True, slots=True)
class ApiCheck:
    """Asks PayPal about every delivery. `http`: with our token."""

    http: Http

    def refusal(
        self,
        signed: Transmission,
        webhook_ids: Sequence[str],
        body: bytes,
        now: datetime,
    ) -> str:
        event = read_event_text(body)
        if event is None:
            return "the body is no event"
        for webhook_id in webhook_ids:
            response = self.http.send(verify_request(signed, webhook_id, event))
            match response.status, response.json:
                case 200, {"verification_status": "SUCCESS"}:
                    return ""
                case 200, {"verification_status": "FAILURE"}:
                    continue
                case 400 | 422, {"name": str()}:
                    continue
                case _:
                    raise NotSentError(f"PayPal could not be asked: {read_failure(response).reason}")
        return "PayPal does not know the signature"


def read_event_text(body: bytes) -> str | None:
    """The delivery as text, where it is one whole JSON object: anything else could break out of the document that it is put
    into, and speak for itself there.
    """
    try:
        text = body.decode()
        return text if isinstance(json.loads(text), dict) else None
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class PayPalInbound:
    """Events of an app's webhooks (https://developer.paypal.com/api/rest/webhooks/rest/, read 2026-11-25). `webhook_id`: several
    with commas between them. Simulated events are signed for another id and refused.
    """

    platform: ClassVar[str] = SPEC.platform
    webhook_id: str
    check: SignatureCheck

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """Raises NotSentError or MaybeSentError where what it is checked with cannot be had now."""
        webhook_ids = split_secrets(self.webhook_id)
        if not webhook_ids:
            return Refused("no webhook id is set")
        signed = read_transmission(delivery.headers)
        if signed is None:
            return Refused("the signature's headers are missing or cannot be read")
        if signed.algorithm != _ALGORITHM:
            return Refused("the signature is of a kind that we do not know")
        why = self.check.refusal(signed, webhook_ids, delivery.body, now)
        if why:
            return Refused(why)
        match parse_json(delivery.body):
            case {"id": str(event_id), "event_type": str(topic)} if event_id and topic:
                return Verified(event_id, topic)
            case _:
                return Refused("the body is no event")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event that matters to us lacks what it must have."""
        is_dispute = topic.startswith("CUSTOMER.DISPUTE.")
        if topic not in _REFUND_TOPICS and topic != "PAYMENT.CAPTURE.REVERSED" and not is_dispute:
            return Irrelevant(f"{topic} asks nothing of us")
        match parse_json(body):
            case {"resource": dict(resource)} as event:
                pass
            case _:
                raise MalformedError("resource", "is missing")
        if is_dispute:
            return _read_dispute_event(resource)
        if topic == "PAYMENT.CAPTURE.REVERSED":
            return _read_reversal(resource, _text(event, "resource_type"))
        return _read_refund_event(resource)


def _read_refund_event(resource: Mapping[str, Any]) -> RefundSeen | PaymentRefundsChanged:
    """The resource is the refund; its capture is in the links."""
    capture_id = _up(resource, "captures")
    if not capture_id:
        raise MalformedError("resource.links", "do not name the capture")
    match read_refund_object(resource):
        case RefundObject(status=RefundStatus() as status) as refund:
            is_ours = _OURS.fullmatch(refund.custom_id)
            return RefundSeen(
                SPEC.platform,
                capture_id,
                refund.reference,
                status,
                refund.amount,
                refund.custom_id if is_ours else "",
                why=refund.why if status is not RefundStatus.SUCCEEDED else "",
            )
        case _:
            # Something happened to a refund, and we cannot tell what: ask.
            return PaymentRefundsChanged(SPEC.platform, capture_id)


def _read_reversal(resource: Mapping[str, Any], kind: str) -> DisputeSeen:
    """PayPal took the money back: by a lost case, at the bank's word, or for reasons of its own.

    It is no refund that anybody made, and the customer has the money: told as an open dispute, which takes back every refund
    that has not gone out. What became of it, the payment's next reading and the case's own events say. The resource is the
    capture, or perhaps (unverified) a reversal of its own with the capture in its links: both are read.
    """
    capture_id = _up(resource, "captures")
    reference = _text(resource, "id")
    if not capture_id and kind != "refund":
        capture_id = reference if _ID.fullmatch(reference) else ""
    if not capture_id:
        raise MalformedError("resource.id", "the reversed capture is not named")
    is_whole_capture = capture_id == reference
    return DisputeSeen(
        SPEC.platform,
        capture_id,
        f"reversal:{reference or capture_id}",
        DisputeState.OPEN,
        # A capture shows its whole amount, which need not be what was taken.
        None if is_whole_capture else read_money(resource.get("amount")),
        _text(resource, "status_details", "reason") or "REVERSED",
    )


def _read_dispute_event(resource: Mapping[str, Any]) -> DisputeSeen:
    """One payment: of a dispute over several, the first (its others show it when they are read)."""
    reference = _text(resource, "dispute_id")
    if not reference:
        raise MalformedError("resource.dispute_id", "is not a text")
    match resource.get("disputed_transactions"):
        case [{"seller_transaction_id": str(capture_id)}, *_] if capture_id:
            pass
        case _:
            raise MalformedError("resource.disputed_transactions[0].seller_transaction_id", "is not a text")
    return DisputeSeen(
        SPEC.platform,
        capture_id,
        reference,
        dispute_state(resource),
        read_money(resource.get("dispute_amount")),
        _text(resource, "reason"),
    )
