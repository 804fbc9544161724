"""Stripe, interim."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import Refund, VoidPayment
from refundflow.domain.facts import DisputeState, OrderRef, PaymentFacts, PaymentState, RefundFact, RefundStatus
from refundflow.domain.inbound import Delivery, DisputeSeen, Irrelevant, MalformedError, PaymentRefundsChanged, Reading, Refused, RefundSeen, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Pending, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json

SPEC: Final = Spec(platform="stripe", api_version="2026-10-28.endive", base_url="https://api.stripe.com", operations={
    Capability.REFUND: Operation("POST /v1/refunds", Idempotency.KEY, key_lifetime_h=24)}, rate_per_s=20, burst=20)


@dataclass(frozen=True, slots=True)
class Credentials:
    secret_key: Secret
    webhook_secret: Secret = Secret("")
    base_url: str = SPEC.base_url
    order_metadata_key: str = "order"


def build(credentials: Credentials, wire: Wire) -> Stripe:
    return Stripe(wire.http(platform="stripe", base_url=credentials.base_url, rate_per_s=20, burst=20, connect_s=3, read_s=15,
        headers={"Authorization": f"Bearer {credentials.secret_key.reveal()}", "Stripe-Version": SPEC.api_version}), credentials.order_metadata_key)


@dataclass(frozen=True, slots=True)
class Stripe:
    spec: ClassVar[Spec] = SPEC
    http: Http
    order_key: str

    def check(self) -> Health:
        r = self.http.send(Request("GET", "/v1/refunds", "stripe.check", params=[("limit", "1")]))
        return Health(r.status == 200, str(r.status))

    def _refunds(self, pi: str) -> list[dict[str, Any]]:
        r = self.http.send(Request("GET", "/v1/refunds", "stripe.list", params=[("payment_intent", pi), ("limit", "100")]))
        return list(r.json["data"])

    def read_payment(self, order_id: str, payment_reference: str) -> PaymentFacts | NotFound | NoAnswer:
        r = self.http.send(Request("GET", f"/v1/payment_intents/{payment_reference}", "stripe.read", params=[("expand[]", "latest_charge")]))
        if r.status == 404:
            return NotFound()
        if r.status != 200:
            return Unknown(str(r.status))
        pi = r.json
        cur = pi["currency"].upper()
        refunds = tuple(RefundFact(x["id"], Money(x["amount"], cur), {"succeeded": RefundStatus.SUCCEEDED, "failed": RefundStatus.FAILED, "canceled": RefundStatus.FAILED}.get(x["status"], RefundStatus.PENDING), x["metadata"].get("refundflow_refund", "")) for x in self._refunds(payment_reference))
        d = self.http.send(Request("GET", "/v1/disputes", "stripe.disputes", params=[("payment_intent", payment_reference)])).json["data"]
        dispute = _dispute(d[0]["status"]) if d else DisputeState.NONE
        state = {"succeeded": PaymentState.CAPTURED, "requires_capture": PaymentState.AUTHORISED, "canceled": PaymentState.VOIDED}.get(pi["status"], PaymentState.NOT_PAID)
        return PaymentFacts("stripe", payment_reference, state, Money(pi["amount_capturable"], cur), Money(pi["amount_received"], cur), refunds, dispute, d[0]["id"] if d else "", order_number=pi["metadata"].get(self.order_key, ""))

    def refund(self, command: Refund) -> Outcome:
        r = self.http.send(Request("POST", "/v1/refunds", "stripe.refund", headers={"Idempotency-Key": command.key}, form=[("payment_intent", command.payment_reference), ("amount", str(command.amount.minor)), ("reason", "requested_by_customer"), ("metadata[refundflow_refund]", command.step_key), ("metadata[refundflow_order]", command.order_number)]))
        return _outcome(r)

    def find_refund(self, command: Refund) -> Found:
        for x in self._refunds(command.payment_reference):
            if x["metadata"].get("refundflow_refund") == command.step_key:
                return _refund(x)
        return NotFound(2.0)

    def void_payment(self, command: VoidPayment) -> Outcome:
        r = self.http.send(Request("POST", f"/v1/payment_intents/{command.payment_reference}/cancel", "stripe.void", headers={"Idempotency-Key": command.key}, form=[]))
        if r.status == 200 and r.json["status"] == "canceled":
            return Done(r.json["id"])
        return _outcome(r)

    def find_void_payment(self, command: VoidPayment) -> Found:
        r = self.http.send(Request("GET", f"/v1/payment_intents/{command.payment_reference}", "stripe.read"))
        return Done(r.json["id"]) if r.json["status"] == "canceled" else NotFound()


def _dispute(status: str) -> DisputeState:
    if status.startswith("warning"):
        return DisputeState.WARNING
    return {"won": DisputeState.WON, "lost": DisputeState.LOST}.get(status, DisputeState.OPEN)


def _refund(x: dict[str, Any]) -> Outcome:
    match x["status"]:
        case "succeeded":
            return Done(x["id"])
        case "failed" | "canceled":
            return Permanent("refund_failed", str(x.get("failure_reason")))
        case _:
            return Pending(x["id"])


def _outcome(r: Response) -> Outcome:
    if r.status == 200:
        return _refund(r.json)
    if r.status == 429:
        return Retryable("throttled", "429", r.retry_after_s)
    if r.status in (401, 403):
        return Retryable("unauthorised", "key")
    if r.status >= 500 or r.status == 409:
        return Unknown(str(r.status))
    e = (r.json or {}).get("error", {})
    return Permanent(e.get("code") or e.get("type") or "?", e.get("message", ""))


@dataclass(frozen=True, slots=True)
class StripeInbound:
    platform: ClassVar[str] = "stripe"
    secret: Secret
    order_key: str = "order"

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        b = parse_json(delivery.body)
        return Verified(b["id"], b["type"])

    def read_event(self, topic: str, body: bytes) -> Reading:
        o = parse_json(body)["data"]["object"]
        if topic.startswith("charge.dispute"):
            return DisputeSeen("stripe", o["payment_intent"], o["id"], _dispute(o["status"]))
        if topic in ("refund.updated", "refund.failed", "refund.created"):
            return RefundSeen("stripe", o["payment_intent"], o["id"], RefundStatus(o["status"]), Money(o["amount"], o["currency"].upper()), o["metadata"].get("refundflow_refund", ""))
        if topic == "charge.refunded":
            return PaymentRefundsChanged("stripe", o["payment_intent"])
        return Irrelevant(topic)
