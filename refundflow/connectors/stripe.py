"""Stripe: payer. Refunds captured payments, releases authorised ones, tells of refunds and disputes.

API v1, version 2026-10-28.endive, pinned by header (https://docs.stripe.com/api, read 2026-11-23); the webhook endpoint must
be set to the same version, because events follow the endpoint and not the request. Authorised by a restricted key with write
on refunds and PaymentIntents, read on charges and disputes.

Quirks
- Bodies are forms with bracketed names, answers are JSON.
- 200 does not mean that the money arrived: a refund is `pending`, `requires_action` or `succeeded`, and a succeeded one can
  still fail days later, told by an event.
- Refunds cannot be searched by metadata: a look lists the refunds of the payment and compares our reference.
- A key is honoured for 24 hours at least, and what it first came to, errors included, is said again for it. That is why a
  refusal is not tried again under the same key, and why our key stands in the metadata too: after a replay, the failed
  refund of an earlier key must not speak for the new one.
- "Already refunded" does not say by whom. It is never taken for done: the look decides.
- While a chargeback is open or lost no refund is possible: the bank has taken the money. During an inquiry (`warning_…`) and
  after an early fraud warning one is.
- Amounts are minor units with exceptions: ISK has two decimals here, MGA none. For UGX the documentation and its readers
  disagree about a factor of 100, so payments in UGX are left to a person.
- The reason `fraudulent` also puts the customer on block lists: an effect that nobody asked for, so it is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import Refund, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
)
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
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, is_fresh, sign_hex, split_secrets

_DOC: Final = "https://docs.stripe.com/api"
_KEY_H: Final = 24.0

SPEC: Final = Spec(
    platform="stripe",
    api_version="2026-10-28.endive",
    base_url="https://api.stripe.com",
    operations={
        Capability.READ_PAYMENT: Operation(
            "GET /v1/payment_intents/{intent}", Idempotency.READ, f"{_DOC}/payment_intents/retrieve"
        ),
        Capability.REFUND: Operation(
            "POST /v1/refunds", Idempotency.KEY, f"{_DOC}/refunds/create", key_lifetime_h=_KEY_H
        ),
        Capability.VOID_PAYMENT: Operation(
            "POST /v1/payment_intents/{intent}/cancel",
            Idempotency.NATURAL,
            f"{_DOC}/payment_intents/cancel",
            key_lifetime_h=_KEY_H,
        ),
        Capability.CHECK: Operation("GET /v1/refunds", Idempotency.READ, f"{_DOC}/refunds/list"),
        Capability.INBOUND: Operation(
            "Stripe-Signature", Idempotency.READ, "https://docs.stripe.com/webhooks/signature"
        ),
    },
    # 25 calls a second for one endpoint (and for a whole sandbox): 10 at once and 15 after stay below in any second.
    rate_per_s=15,
    burst=10,
    # Charges carry the customer's card and address, disputes the correspondence with them.
    redact=frozenset(
        {
            "billing_details",
            "client_secret",
            "customer",
            "evidence",
            "fingerprint",
            "instructions_email",
            "last4",
            "payment_method_details",
            "receipt_email",
            "receipt_url",
            "shipping",
            "source",
        }
    ),
)

#: Where our references stand in a refund's metadata.
STEP_KEY: Final = "refundflow_refund"
WIRE_KEY: Final = "refundflow_key"
ORDER: Final = "refundflow_order"

#: How long after the send an absence is believed. Our own call gives up well before (after 18 s), but what it had sent may
#: still run. It need not be longer: until the key is forgotten a repeat under it cannot make a second refund, and by then
#: the first has long been in the list.
CONCLUSIVE_S: Final = 30.0

_PAGE: Final = 100
_MOST_PAGES: Final = 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """`secret_key`: a restricted key (`rk_live_…`); `webhook_secret`: the endpoint's (`whsec_…`), several with commas
    between them while one is being rotated; `order_metadata_key`: where the shop writes its order number on a payment.
    """

    secret_key: Secret
    webhook_secret: Secret
    base_url: str = SPEC.base_url
    order_metadata_key: str = "order"


def build(credentials: Credentials, wire: Wire) -> Stripe:
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.base_url,
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        headers={
            "Authorization": f"Bearer {credentials.secret_key.reveal()}",
            "Stripe-Version": SPEC.api_version,
        },
        redact=SPEC.redact,
    )
    return Stripe(http, credentials.order_metadata_key)


class Kind(StrEnum):
    """What a payment's reference names, spelled as the parameter that takes it."""

    INTENT = "payment_intent"
    CHARGE = "charge"


@dataclass(frozen=True, slots=True)
class RefundObject:
    """A refund as Stripe shows it. `status`: None where Stripe has a word for it that we do not know."""

    reference: str
    amount: Money
    status: RefundStatus | None
    step_key: str
    key: str
    why: str


@dataclass(frozen=True, slots=True)
class Stripe:
    """Refunder and Voider. References are `pi_…`, or `ch_…` and `py_…` where a shop only knows the charge."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    order_metadata_key: str = "order"

    def check(self) -> Health:
        response = self.http.send(check_request())
        match response.status, response.json:
            case 200, {"object": "list", "data": list()}:
                return Health(True, f"the key is accepted; API {SPEC.api_version}")
            case _:
                failure = read_failure(response)
                return Health(False, failure.reason)

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        """Three calls for a captured payment (itself, its refunds, its disputes; one more per further 100 of a kind), one
        for any other. `order_id` is not needed.
        """
        kind = kind_of(payment_reference)
        if kind is None:
            return _unknown_reference(payment_reference)
        response = self.http.send(payment_request(kind, payment_reference))
        facts = read_payment(response, kind, payment_reference, self.order_metadata_key)
        if not isinstance(facts, PaymentFacts) or facts.captured.minor == 0:
            return facts
        refunds = self._all("/v1/refunds", "stripe.list_refunds", kind, payment_reference)
        if not isinstance(refunds, list):
            return refunds
        disputes = self._all("/v1/disputes", "stripe.list_disputes", kind, payment_reference)
        if not isinstance(disputes, list):
            return disputes
        return add_refunds_and_disputes(facts, refunds, disputes)

    def refund(self, command: Refund) -> Outcome:
        kind = kind_of(command.payment_reference)
        if kind is None:
            return _unknown_reference(command.payment_reference)
        units = to_units(command.amount)
        if units is None or units <= 0:
            return Permanent("amount_unsupported", f"{command.amount} cannot be said to Stripe without doubt")
        return read_refund(self.http.send(refund_request(command, kind, units)), command)

    def find_refund(self, command: Refund) -> Found:
        """One call per 100 refunds of the payment; one more where others have refunded it and ours is not there."""
        kind = kind_of(command.payment_reference)
        if kind is None:
            return _unknown_reference(command.payment_reference)
        listed = self._all("/v1/refunds", "stripe.find_refund", kind, command.payment_reference)
        if not isinstance(listed, list):
            return not_seen(listed)
        refunds = read_refunds(listed)
        if refunds is None:
            return Unknown("the list of refunds cannot be read")
        found = pick_refund(refunds, command)
        given_back = sum(r.amount.minor for r in refunds if r.status is not RefundStatus.FAILED)
        if not isinstance(found, NotFound) or not given_back:
            return found
        # The list was read before the payment, and what was captured does not change any more: if ours had run in
        # between, it would not be counted as somebody else's.
        response = self.http.send(payment_request(kind, command.payment_reference))
        match read_payment(response, kind, command.payment_reference, self.order_metadata_key):
            case PaymentFacts(captured=captured) if captured.minor - given_back < command.amount.minor:
                return Permanent(
                    "refunded_elsewhere",
                    f"{Money(given_back, captured.currency)} of {captured} went back by other refunds: "
                    f"{command.amount} are not left",
                )
            case PaymentFacts():
                return found
            case NotFound():
                return Unknown("the payment has refunds and cannot be found itself")
            case failure:
                return not_seen(failure)

    def void_payment(self, command: VoidPayment) -> Outcome:
        if kind_of(command.payment_reference) is not Kind.INTENT:
            return _not_voidable(command.payment_reference)
        return read_void(self.http.send(void_request(command)), command)

    def find_void_payment(self, command: VoidPayment) -> Found:
        if kind_of(command.payment_reference) is not Kind.INTENT:
            return _not_voidable(command.payment_reference)
        return find_void(self.http.send(payment_request(Kind.INTENT, command.payment_reference)), command)

    def _all(self, path: str, operation: str, kind: Kind, reference: str) -> list[Any] | NoAnswer:
        """Every object of a list, over all its pages, or why it could not be had whole."""
        objects: list[Any] = []
        last = ""
        for _ in range(_MOST_PAGES):
            page = read_page(self.http.send(page_request(path, operation, kind, reference, last)))
            if not isinstance(page, Page):
                return page
            objects += page.objects
            if not page.next_after:
                return objects
            last = page.next_after
        return Unknown(f"{path} of {reference} goes on after {_MOST_PAGES} pages")


def kind_of(reference: str) -> Kind | None:
    """What a reference names, by its prefix; None for anything that must not be put into a path."""
    match re.fullmatch(r"(pi|ch|py)_\w{1,250}", reference, re.ASCII):
        case None:
            return None
        case found:
            return Kind.INTENT if found[1] == "pi" else Kind.CHARGE


def _unknown_reference(reference: str) -> Permanent:
    return Permanent("unknown_reference", f"{reference!r} is no payment of Stripe (pi_…, ch_… or py_…)")


def _not_voidable(reference: str) -> Permanent:
    return Permanent(
        "not_voidable", f"{reference!r} is no PaymentIntent: release the authorisation in the dashboard"
    )


# Exponents that differ from ISO 4217 (https://docs.stripe.com/currencies#special-cases, read 2026-11-23).
_EXPONENTS: Final = {"ISK": 2, "MGA": 0}
_AMBIGUOUS: Final = frozenset({"UGX"})


def to_units(amount: Money) -> int | None:
    """The amount as Stripe counts it, or None where that cannot be said exactly."""
    if amount.currency in _AMBIGUOUS:
        return None
    shift = _EXPONENTS.get(amount.currency, exponent_of(amount.currency)) - exponent_of(amount.currency)
    if shift >= 0:
        return int(amount.minor * 10**shift)
    units, rest = divmod(amount.minor, 10**-shift)
    return None if rest else int(units)


def from_units(units: Any, currency: Any) -> Money | None:
    """An amount of Stripe's as money, or None where it is none, or none without doubt."""
    match units, currency:
        case bool(), _:
            return None
        case int(), str() if units >= 0 and re.fullmatch(r"[A-Za-z]{3}", currency):
            code = currency.upper()
            if code in _AMBIGUOUS:
                return None
            shift = exponent_of(code) - _EXPONENTS.get(code, exponent_of(code))
            if shift >= 0:
                return Money(int(units * 10**shift), code)
            minor, rest = divmod(units, 10**-shift)
            return None if rest else Money(int(minor), code)
        case _:
            return None


def check_request() -> Request:
    return Request("GET", "/v1/refunds", "stripe.check", params=[("limit", "1")])


def payment_request(kind: Kind, reference: str) -> Request:
    if kind is Kind.CHARGE:
        return Request("GET", f"/v1/charges/{reference}", "stripe.read_payment")
    return Request(
        "GET",
        f"/v1/payment_intents/{reference}",
        "stripe.read_payment",
        params=[("expand[]", "latest_charge")],
    )


def page_request(path: str, operation: str, kind: Kind, reference: str, after: str) -> Request:
    params = [(kind.value, reference), ("limit", str(_PAGE))]
    return Request("GET", path, operation, params=[*params, ("starting_after", after)] if after else params)


def refund_request(command: Refund, kind: Kind, units: int) -> Request:
    """`amount` always: without it Stripe refunds whatever is left, and a refund made by hand meanwhile changes the sum."""
    metadata = {STEP_KEY: command.step_key, WIRE_KEY: command.key, ORDER: command.order_number}
    reason = _REASONS.get(command.reason)
    return Request(
        "POST",
        "/v1/refunds",
        "stripe.refund",
        headers={"Idempotency-Key": command.key},
        form=[
            (kind.value, command.payment_reference),
            ("amount", str(units)),
            *([("reason", reason)] if reason else []),
            *((f"metadata[{name}]", value) for name, value in metadata.items() if value),
        ],
    )


def void_request(command: VoidPayment) -> Request:
    return Request(
        "POST",
        f"/v1/payment_intents/{command.payment_reference}/cancel",
        "stripe.void_payment",
        headers={"Idempotency-Key": command.key},
        form=[("cancellation_reason", "requested_by_customer")],
    )


#: Our reasons in Stripe's words; the others have none there that would be true and harmless.
_REASONS: Final[Mapping[str, str]] = {"customer": "requested_by_customer", "duplicate": "duplicate"}

_REFUND_STATUSES: Final[Mapping[str, RefundStatus]] = {
    "pending": RefundStatus.PENDING,
    "requires_action": RefundStatus.PENDING,  # the customer must say where to send it
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next_after`: the id that the next page starts after, empty on the last one."""

    objects: list[Any]
    next_after: str


def read_page(response: Response) -> Page | NoAnswer:
    match response.status, response.json:
        case 200, {"object": "list", "data": list(objects), "has_more": False}:
            return Page(objects, "")
        case 200, {"object": "list", "data": [*_, {"id": str(last)}] as objects, "has_more": True} if last:
            return Page(objects, last)
        case _:
            return read_failure(response)


def read_refund_object(value: Any) -> RefundObject | None:
    match value:
        case {"object": "refund", "id": str(reference), "amount": units, "currency": currency} if reference:
            amount = from_units(units, currency)
            if amount is None:
                return None
            status = value.get("status")
            metadata = _metadata(value)
            return RefundObject(
                reference,
                amount,
                _REFUND_STATUSES.get(status) if isinstance(status, str) else None,
                metadata.get(STEP_KEY, ""),
                metadata.get(WIRE_KEY, ""),
                next(
                    (w for n in ("failure_reason", "pending_reason") if isinstance(w := value.get(n), str)),
                    "",
                ),
            )
        case _:
            return None


def read_refunds(listed: Iterable[Any]) -> list[RefundObject] | None:
    """All refunds of a list, or None where one of them cannot be read: it might be ours."""
    refunds: list[RefundObject] = []
    for value in listed:
        refund = read_refund_object(value)
        if refund is None:
            return None
        refunds.append(refund)
    return refunds


def read_refund(response: Response, command: Refund) -> Outcome:
    match response.status, response.json:
        case 200, {"object": "refund"} as value:
            refund = read_refund_object(value)
            return judge_refund(refund, command) if refund else Unknown("the refund cannot be read")
        case _:
            return read_failure(response)


def judge_refund(refund: RefundObject, command: Refund) -> Outcome:
    """What a refund that exists at Stripe is worth, beside what was asked for."""
    if refund.amount != command.amount:
        return Permanent(
            "amount_mismatch",
            f"asked for {command.amount}, Stripe has {refund.amount} as {refund.reference}",
        )
    match refund.status:
        case RefundStatus.SUCCEEDED:
            return Done(refund.reference)
        case RefundStatus.PENDING:
            return Pending(refund.reference)
        case RefundStatus.FAILED:
            return Permanent("refund_failed", f"{refund.reference}: {refund.why or 'no reason given'}")
        case None:
            return Unknown(f"{refund.reference} has a status that we do not know")


def pick_refund(refunds: Iterable[RefundObject], command: Refund) -> Found:
    """Our refund among those of the payment. One that lives speaks before one that failed, and a failed one of an earlier
    key than the command's does not speak at all.
    """
    ours = [r for r in refunds if r.step_key == command.step_key]
    living = [r for r in ours if r.status is not RefundStatus.FAILED]
    if living:
        # A person must see it when there are two, whichever way that came about.
        outcome = judge_refund(living[0], command)
        others = ", ".join(r.reference for r in living[1:])
        return (
            replace(outcome, detail=f"also refunded by {others}")
            if others and isinstance(outcome, Done)
            else outcome
        )
    failed = [r for r in ours if _key_number(r.key) >= _key_number(command.key)]
    if failed:
        return judge_refund(failed[0], command)
    return NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference")


def _key_number(key: str) -> int:
    """The number at the end of a wire key; a refund without one counts for every key, a command without one sees all."""
    number = key.rpartition(":")[2]
    return int(number) if number.isdecimal() else 0


def read_payment(
    response: Response, kind: Kind, reference: str, order_key: str
) -> PaymentFacts | NotFound | NoAnswer:
    """The payment without its refunds and disputes."""
    match response.status, response.json:
        case 404, {"error": {"code": "resource_missing"}}:
            return NotFound(0.0, "no such payment in this account and mode (test or live)")
        case 200, {"object": "payment_intent", "id": str(found)} as value if (
            kind is Kind.INTENT and found == reference
        ):
            return _read_intent(value, order_key)
        case 200, {"object": "charge", "id": str(found)} as value if (
            kind is Kind.CHARGE and found == reference
        ):
            return _read_charge(value, order_key)
        case _:
            return read_failure(response)


def _read_intent(value: Mapping[str, Any], order_key: str) -> PaymentFacts | NoAnswer:
    reference, currency = value["id"], value.get("currency")
    captured = from_units(value.get("amount_received"), currency)
    authorised = from_units(value.get("amount_capturable"), currency)
    status = value.get("status")
    if captured is None or authorised is None:
        return _unreadable_amount(reference, currency)
    charge = value.get("latest_charge")
    number = _metadata(value).get(order_key, "") or _metadata(charge).get(order_key, "")
    match status:
        case "succeeded":
            state = PaymentState.CAPTURED
        case "requires_capture":
            state = PaymentState.AUTHORISED
        case "canceled":
            state = PaymentState.VOIDED
        case "requires_payment_method" | "requires_confirmation" | "requires_action":
            state = PaymentState.NOT_PAID
        case "processing":
            return _still_processing(reference)
        case _:
            return Unknown(f"{reference} has a status that we do not know: {status!r:.60}")
    is_disputed = isinstance(charge, dict) and charge.get("disputed") is True
    return PaymentFacts(
        platform=SPEC.platform,
        reference=reference,
        state=state,
        authorised=authorised,
        captured=captured,
        # Provisional: the list of disputes says which; without one there, money may be gone all the same.
        dispute=DisputeState.OPEN if is_disputed else DisputeState.NONE,
        order_number=number,
    )


def _read_charge(value: Mapping[str, Any], order_key: str) -> PaymentFacts | NoAnswer:
    reference, currency = value["id"], value.get("currency")
    amount = from_units(value.get("amount"), currency)
    captured = from_units(value.get("amount_captured"), currency)
    if amount is None or captured is None:
        return _unreadable_amount(reference, currency)
    nothing = Money(0, amount.currency)
    match value.get("status"), value.get("captured"), value.get("refunded"):
        case "succeeded", True, _:
            state, authorised = PaymentState.CAPTURED, nothing
        case "succeeded", False, True:  # an authorisation that was released counts as refunded
            state, authorised = PaymentState.VOIDED, nothing
        case "succeeded", False, False:
            state, authorised = PaymentState.AUTHORISED, amount
        case "failed", _, _:
            state, authorised = PaymentState.NOT_PAID, nothing
        case "pending", _, _:
            return _still_processing(reference)
        case _:
            return Unknown(f"{reference} has a status that we do not know")
    return PaymentFacts(
        platform=SPEC.platform,
        reference=reference,
        state=state,
        authorised=authorised,
        captured=captured if state is PaymentState.CAPTURED else nothing,
        dispute=DisputeState.OPEN if value.get("disputed") is True else DisputeState.NONE,
        order_number=_metadata(value).get(order_key, ""),
    )


def _still_processing(reference: str) -> Retryable:
    """Neither paid nor unpaid yet: calling it unpaid would close a case whose money arrives tomorrow."""
    return Retryable("unavailable", f"{reference} is still being processed and may yet be captured", 900.0)


def _unreadable_amount(reference: str, currency: Any) -> NoAnswer:
    if isinstance(currency, str) and currency.upper() in _AMBIGUOUS:
        return Permanent("amount_unsupported", f"{reference} is in {currency.upper()}: refund it by hand")
    return Unknown(f"the amounts of {reference} cannot be read")


def add_refunds_and_disputes(
    facts: PaymentFacts, listed: Iterable[Any], disputes: Iterable[Any]
) -> PaymentFacts | NoAnswer:
    refunds = read_refunds(listed)
    if refunds is None:
        return Unknown("the list of refunds cannot be read")
    if any(r.amount.currency != facts.captured.currency for r in refunds):
        return Unknown("a refund is in another currency than its payment")
    seen: list[tuple[DisputeState, str]] = []
    for value in disputes:
        match value:
            case {"object": "dispute", "id": str(reference), "status": str(status)}:
                seen.append((dispute_state(status), reference))
            case _:
                return Unknown("the list of disputes cannot be read")
    worst = max(seen, key=lambda s: _GRAVITY.index(s[0]), default=(facts.dispute, ""))
    return replace(
        facts,
        refunds=tuple(
            # One whose status we do not know counts as on its way: its money may be gone.
            RefundFact(r.reference, r.amount, r.status or RefundStatus.PENDING, r.step_key)
            for r in refunds
        ),
        dispute=worst[0],
        dispute_reference=worst[1],
    )


#: From harmless to the one that forbids a refund for sure: of several disputes the gravest speaks.
_GRAVITY: Final = (
    DisputeState.NONE,
    DisputeState.WON,
    DisputeState.WARNING,
    DisputeState.LOST,
    DisputeState.OPEN,
)


def dispute_state(status: str) -> DisputeState:
    """A word that is new to us counts as open: nothing is refunded until a person has read it."""
    match status:
        case "won":
            return DisputeState.WON
        case (
            "lost" | "prevented"
        ):  # prevented: settled before it became a chargeback, by giving the money back
            return DisputeState.LOST
        case _ if status.startswith("warning_"):
            return DisputeState.WARNING
        case _:
            return DisputeState.OPEN


def read_void(response: Response, command: VoidPayment) -> Outcome:
    match response.status, response.json:
        case 200, {
            "object": "payment_intent",
            "id": command.payment_reference,
            "status": "canceled",
        } as value:
            return _judge_void(value, command)
        case _:
            return read_failure(response)


def find_void(response: Response, command: VoidPayment) -> Found:
    match response.status, response.json:
        case 200, {
            "object": "payment_intent",
            "id": command.payment_reference,
            "status": str(status),
        } as value:
            match status:
                case "canceled":
                    return _judge_void(value, command)
                case "succeeded":
                    return Permanent("captured_meanwhile", "the payment was captured: refund it instead")
                case (
                    "requires_capture"
                    | "requires_payment_method"
                    | "requires_confirmation"
                    | "requires_action"
                ):
                    return NotFound(CONCLUSIVE_S, f"the payment is not cancelled: {status}")
                case _:
                    return Unknown(f"the payment is {status!r:.60}: neither cancelled nor captured")
        case _:
            return not_seen(read_failure(response))


def _judge_void(value: Mapping[str, Any], command: VoidPayment) -> Outcome:
    """A cancelled payment shows its whole amount, not what was left to capture: at least what we released."""
    match from_units(value.get("amount"), value.get("currency")):
        case None:
            return Unknown("the cancelled payment's amount cannot be read")
        case Money(minor=minor, currency=currency) if (
            currency == command.amount.currency and minor >= command.amount.minor
        ):
            return Done(command.payment_reference)
        case released:
            return Permanent(
                "amount_mismatch", f"asked to release {command.amount}, Stripe cancelled {released}"
            )


def read_failure(response: Response) -> Retryable | Permanent | Unknown:
    """An answer that is not the yes that was hoped for: an explicit no, a "not now", or nothing that can be trusted."""
    match response.status, response.json:
        case 401 | 403 as status, _:
            return Retryable(
                "unauthorised",
                f"Stripe refuses our key ({status}): check REFUNDFLOW_STRIPE_SECRET_KEY and its permissions"
                + _request_id(response),
            )
        case 429, _:
            return Retryable(
                "throttled", "Stripe is asked too often" + _request_id(response), response.retry_after_s
            )
        case status, {"error": {"type": str(kind)} as error} if (
            400 <= status < 500 and status != 424 and kind != "api_error"
        ):
            return _read_refusal(response, kind, error)
        case status, _:
            return Unknown(f"no clear answer, status {status}{_request_id(response)}")


def not_seen(failure: NoAnswer) -> Retryable | Unknown:
    """A look that was refused: a no to the question is no word about the effect (a key of the other mode sees nothing)."""
    match failure:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


class Means(StrEnum):
    """What a refusal is worth. LOOK: it may be so already, or soon, by us. DISPUTED: the bank has the money. AGAIN: not now."""

    LOOK = "look"
    DISPUTED = "disputed"
    AGAIN = "again"


#: Error codes that are more than a plain no. All others are: the call was understood and refused.
REFUSALS: Final[Mapping[str, Means]] = {
    "charge_already_refunded": Means.LOOK,
    "charge_disputed": Means.DISPUTED,
    "idempotency_key_in_use": Means.LOOK,  # the first call under this key is still at work
    "lock_timeout": Means.AGAIN,
    "payment_intent_unexpected_state": Means.LOOK,
    "rate_limit": Means.AGAIN,
    "refund_disputed_payment": Means.DISPUTED,
}


def _read_refusal(response: Response, kind: str, error: Mapping[str, Any]) -> Retryable | Permanent | Unknown:
    """`Stripe-Should-Retry` is believed where a repeat is harmless: "true" turns a plain no into "not now" (the key is the
    same, and a refusal did nothing), "false" turns "not now" into a look. It never overrules a look.
    """
    code = error.get("code")
    code = code if isinstance(code, str) and code else kind
    message = error.get("message")
    reason = (message if isinstance(message, str) else "no message") + _request_id(response)
    should_retry = response.headers.get("stripe-should-retry", "")
    match REFUSALS.get(code):
        case Means.LOOK:
            return Unknown(f"{code}: look who did it: {reason}")
        case Means.DISPUTED:
            return Permanent(
                "charge_disputed", f"the bank has taken the money back, no refund is due: {reason}"
            )
        case Means.AGAIN if should_retry == "false":
            return Unknown(f"{code}: {reason}")
        case Means.AGAIN:
            return Retryable("unavailable", f"{code}: {reason}", response.retry_after_s)
        case None if should_retry == "true" and kind != "idempotency_error":
            return Retryable("unavailable", f"{code}: {reason}", response.retry_after_s)
        case None:
            return Permanent(code, reason)


def _request_id(response: Response) -> str:
    """Stripe's id of the call, which its support asks for."""
    request_id = response.headers.get("request-id", "")
    return f" ({request_id})" if request_id else ""


def _metadata(value: Any) -> dict[str, str]:
    match value:
        case {"metadata": dict(metadata)}:
            return {n: v for n, v in metadata.items() if isinstance(v, str)}
        case _:
            return {}


_TOLERANCE_S: Final = 300.0
_REFUND_TOPICS: Final = frozenset(
    {"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"}
)


@dataclass(frozen=True, slots=True)
class StripeInbound:
    """Events of one webhook endpoint (https://docs.stripe.com/webhooks/signature, read 2026-11-23)."""

    platform: ClassVar[str] = SPEC.platform
    secret: Secret
    order_metadata_key: str = "order"

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """Any `v1` that any of our secrets makes will do: Stripe sends one per secret while one is being rotated."""
        secrets = split_secrets(self.secret.reveal())
        if not secrets:
            return Refused("no webhook secret is set")
        signed = read_signature(delivery.headers.get("stripe-signature", ""))
        if signed is None:
            return Refused("the signature header is missing or cannot be read")
        message = signed.timestamp.encode() + b"." + delivery.body
        if not is_any([sign_hex(secret, message) for secret in secrets], signed.signatures):
            return Refused("the signature does not match")
        if not is_fresh(int(signed.timestamp), now, _TOLERANCE_S):
            return Refused(f"the signature is not from the last {_TOLERANCE_S:.0f} seconds")
        match parse_json(delivery.body):
            case {"object": "event", "id": str(event_id), "type": str(topic)} if event_id and topic:
                return Verified(event_id, topic)
            case _:
                return Refused("the body is no event")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event that matters to us lacks what it must have."""
        match parse_json(body):
            case {"data": {"object": dict(value)}}:
                pass
            case _:
                raise MalformedError("data.object", "is missing")
        if topic in _REFUND_TOPICS:
            return self._read_refund(value)
        if topic.startswith("charge.dispute."):
            return _read_dispute(value)
        match topic:
            case "charge.refunded":
                return PaymentRefundsChanged(SPEC.platform, _payment_of(value), self._order_of(value))
            case "radar.early_fraud_warning.created":
                return DisputeSeen(
                    SPEC.platform,
                    _payment_of(value),
                    _text(value, "id"),
                    DisputeState.WARNING,
                    reason=_text(value, "fraud_type"),
                )
            case _:
                return Irrelevant(f"{topic} asks nothing of us")

    def _read_refund(self, value: Mapping[str, Any]) -> RefundSeen | PaymentRefundsChanged:
        payment = _payment_of(value)
        order = self._order_of(value)
        match read_refund_object(value):
            case RefundObject(status=RefundStatus() as status) as refund:
                return RefundSeen(
                    SPEC.platform,
                    payment,
                    refund.reference,
                    status,
                    refund.amount,
                    refund.step_key,
                    order,
                    refund.why,
                )
            case _:
                # Something happened to a refund, and we cannot tell what: ask.
                return PaymentRefundsChanged(SPEC.platform, payment, order)

    def _order_of(self, value: Mapping[str, Any]) -> OrderRef | None:
        """The order's number, where the metadata says it; which shop it belongs to is not known here."""
        metadata = _metadata(value)
        number = metadata.get(ORDER) or metadata.get(self.order_metadata_key, "")
        return OrderRef("", number=number) if number else None


def _read_dispute(value: Mapping[str, Any]) -> DisputeSeen:
    reason = value.get("reason")
    return DisputeSeen(
        SPEC.platform,
        _payment_of(value),
        _text(value, "id"),
        dispute_state(_text(value, "status")),
        from_units(value.get("amount"), value.get("currency")),
        reason if isinstance(reason, str) else "",
    )


def _payment_of(value: Mapping[str, Any]) -> str:
    """The PaymentIntent where there is one, else the charge; the object itself where it is the charge."""
    for name in ("payment_intent", "charge"):
        match value.get(name):
            case str() as reference if reference:
                return reference
            case {"id": str(reference)} if reference:
                return reference
            case _:
                continue
    match value:
        case {"object": "charge", "id": str(reference)} if reference:
            return reference
        case _:
            raise MalformedError(
                "data.object.payment_intent", "neither a PaymentIntent nor a charge is named"
            )


def _text(value: Mapping[str, Any], name: str) -> str:
    match value.get(name):
        case str() as text if text:
            return text
        case _:
            raise MalformedError(f"data.object.{name}", "is not a text")


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature header, taken apart. `timestamp`: its digits, as they were signed."""

    timestamp: str
    signatures: tuple[str, ...]


def read_signature(header: str) -> Signature | None:
    """Reads `t=…,v1=…[,v1=…]`; other schemes (`v0`) do not count. None where a time or a signature is missing."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    signatures = tuple(value for name, _, value in parts if name == "v1" and value)
    match times:
        case [str(timestamp)] if re.fullmatch(r"[0-9]{1,12}", timestamp) and signatures:
            return Signature(timestamp, signatures)
        case _:
            return None
