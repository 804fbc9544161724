"""Stripe against its published description: what we send fits it, and so do the answers that our readers are tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Capability
from refundflow.connectors.stripe import (
    REFUSALS,
    SPEC,
    Stripe,
    StripeInbound,
    dispute_state,
    read_refund_object,
)
from refundflow.domain.facts import DisputeState, PaymentFacts, PaymentState, RefundStatus
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    PaymentRefundsChanged,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Done, NotFound, Permanent, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Response
from tests.support.commands import command_for
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

PI = "pi_1PgafyB7WZ01zgkWSjxsAJo3"
REFUND: Any = command_for(Capability.REFUND, {"payment_reference": PI})
VOID: Any = command_for(Capability.VOID_PAYMENT, {"payment_reference": PI})


@pytest.fixture
def api() -> Path:
    return specs("stripe") / "stripe.openapi.json"


@pytest.fixture
def fixtures() -> dict[str, Any]:
    """The objects that Stripe publishes for its own mock server."""
    loaded: dict[str, Any] = load(specs("stripe") / "fixtures.slice.json")["resources"]
    return loaded


def listed(path: str, *objects: Any) -> Response:
    return answer(200, {"object": "list", "data": list(objects), "has_more": False, "url": path})


def test_the_version_that_is_pinned_is_the_one_described(api: Path) -> None:
    assert load(api)["info"]["version"] == SPEC.api_version


def test_every_declared_call_is_described(api: Path) -> None:
    paths = load(api)["paths"]
    calls = [o.call.split() for c, o in SPEC.operations.items() if c is not Capability.INBOUND]
    assert [c for c in calls if c[0].lower() not in paths.get(c[1], {})] == []


@pytest.mark.parametrize("reference", ["pi_1", "ch_1"])
@pytest.mark.parametrize("reason", ["customer", "duplicate", "fraud"])
def test_a_refund_is_sent_as_described(api: Path, reference: str, reason: str) -> None:
    http = FakeHttp(answer(500))
    Stripe(http).refund(replace(REFUND, payment_reference=reference, reason=reason))
    check_request(api, "post", "/v1/refunds", http.sent)


def test_a_release_is_sent_as_described(api: Path) -> None:
    http = FakeHttp(answer(500))
    Stripe(http).void_payment(VOID)
    check_request(api, "post", "/v1/payment_intents/{intent}/cancel", http.sent)


def test_a_check_is_sent_as_described(api: Path) -> None:
    http = FakeHttp(answer(500))
    Stripe(http).check()
    check_request(api, "get", "/v1/refunds", http.sent)


def test_reading_a_payment_is_sent_as_described_and_reads_the_published_objects(
    api: Path, fixtures: dict[str, Any]
) -> None:
    reference = fixtures["payment_intent"]["id"]
    captured = {**fixtures["payment_intent"], "status": "succeeded", "amount_received": 1099}
    whole = {**captured, "latest_charge": fixtures["charge"], "metadata": {"order": "1042"}}
    refund, dispute = fixtures["refund"], fixtures["dispute"]
    first = {"object": "list", "data": [refund], "has_more": True, "url": "/v1/refunds"}
    check_response(api, "get", "/v1/payment_intents/{intent}", 200, whole)
    check_response(api, "get", "/v1/refunds", 200, first)
    http = FakeHttp(
        answer(200, whole),
        answer(200, first),
        listed("/v1/refunds"),
        listed("/v1/disputes", dispute),
    )
    facts = Stripe(http).read_payment("", reference)
    assert isinstance(facts, PaymentFacts)
    assert (facts.state, facts.captured, facts.order_number) == (
        PaymentState.CAPTURED,
        Money(1099, "USD"),
        "1042",
    )
    assert [(r.reference, r.amount, r.status) for r in facts.refunds] == [
        (refund["id"], Money(100, "USD"), RefundStatus.SUCCEEDED)
    ]
    assert (facts.dispute, facts.dispute_reference) == (DisputeState.WARNING, dispute["id"])
    check_request(api, "get", "/v1/payment_intents/{intent}", http.requests[0])
    check_request(api, "get", "/v1/refunds", http.requests[1])
    check_request(api, "get", "/v1/refunds", http.requests[2])
    check_request(api, "get", "/v1/disputes", http.requests[3])


def test_reading_a_charge_is_sent_as_described_and_reads_the_published_object(
    api: Path, fixtures: dict[str, Any]
) -> None:
    held = fixtures["charge"]
    http = FakeHttp(answer(200, held))
    facts = Stripe(http).read_payment("", held["id"])
    assert isinstance(facts, PaymentFacts)
    assert (facts.state, facts.authorised) == (PaymentState.AUTHORISED, Money(100, "USD"))
    check_request(api, "get", "/v1/charges/{charge}", http.sent)
    check_response(api, "get", "/v1/charges/{charge}", 200, held)


@pytest.mark.parametrize(
    ("status", "family"),
    [("succeeded", "Done"), ("pending", "Pending"), ("requires_action", "Pending"), ("failed", "Permanent")],
)
def test_the_published_refund_is_read_in_every_state(
    api: Path, fixtures: dict[str, Any], status: str, family: str
) -> None:
    told = {
        **fixtures["refund"],
        "status": status,
        "metadata": {"refundflow_refund": REFUND.step_key, "refundflow_key": REFUND.key},
    }
    check_response(api, "post", "/v1/refunds", 200, told, declared_only=True)
    command = replace(REFUND, amount=Money(100, "USD"))
    assert type(Stripe(FakeHttp(answer(200, told))).refund(command)).__name__ == family
    assert type(Stripe(FakeHttp(listed("/v1/refunds", told))).find_refund(command)).__name__ == family


def test_a_payment_without_our_refund_is_looked_at_as_described(api: Path, fixtures: dict[str, Any]) -> None:
    payment = {**fixtures["payment_intent"], "status": "succeeded", "amount_received": 9000}
    http = FakeHttp(listed("/v1/refunds", fixtures["refund"]), answer(200, payment))
    assert isinstance(Stripe(http).find_refund(replace(REFUND, amount=Money(4250, "USD"))), NotFound)
    check_request(api, "get", "/v1/refunds", http.requests[0])
    check_request(api, "get", "/v1/payment_intents/{intent}", http.requests[1])


def test_the_published_payment_is_read_when_it_is_cancelled(api: Path, fixtures: dict[str, Any]) -> None:
    told = {**fixtures["payment_intent"], "status": "canceled", "amount": 4250, "currency": "eur"}
    check_response(api, "post", "/v1/payment_intents/{intent}/cancel", 200, told, declared_only=True)
    assert Stripe(FakeHttp(answer(200, told))).void_payment(VOID) == Done(VOID.payment_reference)
    assert Stripe(FakeHttp(answer(200, told))).find_void_payment(VOID) == Done(VOID.payment_reference)


def test_every_refusal_that_means_more_than_no_is_a_published_code(api: Path) -> None:
    known = load(api)["components"]["schemas"]["api_errors"]["properties"]["code"]["x-known-values"]
    assert set(REFUSALS) <= set(known)


@pytest.mark.parametrize("code", [*REFUSALS, "charge_not_refundable"])
def test_refusals_are_shaped_as_described(api: Path, code: str) -> None:
    told = {"error": {"type": "invalid_request_error", "code": code, "message": "no"}}
    check_response(api, "post", "/v1/refunds", 400, told, declared_only=True)
    assert not isinstance(Stripe(FakeHttp(answer(400, told))).refund(REFUND), Done)


def test_every_published_state_of_a_dispute_is_known_by_name(api: Path) -> None:
    states = load(api)["components"]["schemas"]["dispute"]["properties"]["status"]["x-known-values"]
    opens = {s for s in states if dispute_state(s) is DisputeState.OPEN}
    assert opens == {"needs_response", "under_review", "appeal_needs_response", "appeal_under_review"}


class TestEvents:
    INBOUND = StripeInbound(Secret("whsec_practice"))

    @pytest.mark.parametrize(
        ("topic", "schema", "name", "family"),
        [
            ("refund.updated", "event_refund", "refund", RefundSeen),
            ("refund.failed", "event_refund", "refund", RefundSeen),
            ("charge.refunded", "event_charge", "charge", PaymentRefundsChanged),
            ("charge.dispute.created", "event_dispute", "dispute", DisputeSeen),
            ("charge.dispute.closed", "event_dispute", "dispute", DisputeSeen),
        ],
    )
    def test_the_published_objects_are_read_inside_their_events(
        self, api: Path, fixtures: dict[str, Any], topic: str, schema: str, name: str, family: type
    ) -> None:
        event = {**fixtures["event"], "type": topic, "data": {"object": fixtures[name]}}
        check_document(api, event, f"/components/schemas/{schema}")
        assert isinstance(self.INBOUND.read_event(topic, json.dumps(event).encode()), family)

    def test_an_early_fraud_warning_is_read_as_described(self, api: Path, fixtures: dict[str, Any]) -> None:
        warning = {
            "object": "radar.early_fraud_warning",
            "id": "issfr_1",
            "actionable": True,
            "charge": "ch_1",
            "created": 1234567890,
            "fraud_type": "misc",
            "livemode": False,
            "payment_intent": None,
        }
        event = {
            **fixtures["event"],
            "type": "radar.early_fraud_warning.created",
            "data": {"object": warning},
        }
        check_document(api, event, "/components/schemas/event_early_fraud_warning")
        reading = self.INBOUND.read_event("radar.early_fraud_warning.created", json.dumps(event).encode())
        assert reading == DisputeSeen("stripe", "ch_1", "issfr_1", DisputeState.WARNING, None, "misc")

    def test_every_topic_that_we_read_is_published(self, api: Path) -> None:
        known = set(load(api)["components"]["schemas"]["event"]["properties"]["type"]["x-known-values"])
        topics = {
            "refund.created",
            "refund.updated",
            "refund.failed",
            "charge.refund.updated",
            "charge.refunded",
        }
        assert topics | {"radar.early_fraud_warning.created", "charge.dispute.created"} <= known


class TestPublishedSignatures:
    @pytest.fixture
    def vectors(self) -> dict[str, Any]:
        loaded: dict[str, Any] = load(specs("stripe") / "webhook_signature_vectors.json")
        return loaded

    def test_the_vectors_verify_or_fail_as_published(self, vectors: dict[str, Any]) -> None:
        for vector in vectors["vectors"]:
            base = vectors["vectors"][vector.get("same_as", 0)]
            body = (base["raw_body"] + vector.get("append_to_body", "")).encode()
            now = datetime.fromtimestamp(vector.get("valid_at", base["valid_at"]), UTC)
            said = StripeInbound(Secret(base["secret"])).verify(
                Delivery({"stripe-signature": base["header"]}, body), now
            )
            expected = Verified("evt_123", "customer.created") if vector["valid"] else Refused
            assert said == expected or type(said) is expected

    def test_malformed_headers_are_refused(self, vectors: dict[str, Any]) -> None:
        base = vectors["vectors"][0]
        now = datetime.fromtimestamp(base["valid_at"], UTC)
        for header in vectors["malformed_headers_must_be_rejected"]:
            delivery = Delivery({"stripe-signature": header}, base["raw_body"].encode())
            assert isinstance(StripeInbound(Secret(base["secret"])).verify(delivery, now), Refused)

    def test_the_old_scheme_alone_and_an_empty_secret_are_refused(self, vectors: dict[str, Any]) -> None:
        base = vectors["vectors"][0]
        now = datetime.fromtimestamp(base["valid_at"], UTC)
        at, _, old = base["header"].split(",")
        body = base["raw_body"].encode()
        only_old = Delivery({"stripe-signature": f"{at},{old}"}, body)
        assert isinstance(StripeInbound(Secret(base["secret"])).verify(only_old, now), Refused)
        whole = Delivery({"stripe-signature": base["header"]}, body)
        assert isinstance(StripeInbound(Secret("")).verify(whole, now), Refused)


def test_the_published_refund_has_no_field_that_our_reader_misses(fixtures: dict[str, Any]) -> None:
    refund = read_refund_object(fixtures["refund"])
    assert refund is not None
    assert (refund.amount, refund.status, refund.step_key) == (Money(100, "USD"), RefundStatus.SUCCEEDED, "")


def test_a_refusal_to_be_asked_is_no_word_about_the_refund(api: Path) -> None:
    told = {
        "error": {"type": "invalid_request_error", "code": "resource_missing", "message": "no such payment"}
    }
    check_response(api, "get", "/v1/refunds", 404, told, declared_only=True)
    assert isinstance(Stripe(FakeHttp(answer(404, told))).find_refund(REFUND), Unknown)
    assert isinstance(Stripe(FakeHttp(answer(404, told))).refund(REFUND), Permanent)
