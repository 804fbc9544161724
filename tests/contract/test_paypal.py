"""PayPal against its published descriptions: what we send fits them, and so do the answers that our readers are tested on."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.base import Capability
from refundflow.connectors.paypal import (
    _OUTCOMES,
    _REFUND_STATUSES,
    REFUSALS,
    SPEC,
    ApiCheck,
    Means,
    PayPal,
    PayPalInbound,
    Transmission,
    address_refusal,
    capture_facts,
    dispute_state,
    read_capture_object,
    signed_message,
)
from refundflow.domain.facts import DisputeState, PaymentFacts, PaymentState, RefundStatus
from refundflow.domain.inbound import Delivery, DisputeSeen, RefundSeen, Verified
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable, Unknown
from refundflow.transport.base import Request, parse_json
from tests.support.commands import command_for
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

CAPTURE, AUTHORISATION, ORDER, REFUND_ID = (
    "3C679366HH908993F",
    "0VF52814937998046",
    "5O190127TN364715T",
    "1JU08902781691411",
)
REFUND: Any = command_for(Capability.REFUND, {"payment_reference": CAPTURE})
VOID: Any = command_for(Capability.VOID_PAYMENT, {"payment_reference": AUTHORISATION})

CAPTURES = "/v2/payments/captures/{capture_id}"
AUTHORISATIONS = "/v2/payments/authorizations/{authorization_id}"
REFUNDS = "/v2/payments/refunds/{refund_id}"
ORDERS = "/v2/checkout/orders/{id}"
DISPUTES = "/v1/customer/disputes"


@pytest.fixture
def payments() -> Path:
    return specs("paypal") / "payments_v2.openapi.json"


@pytest.fixture
def orders() -> Path:
    return specs("paypal") / "orders_v2.openapi.json"


@pytest.fixture
def disputes() -> Path:
    return specs("paypal") / "disputes_v1.openapi.json"


@pytest.fixture
def webhooks() -> Path:
    return specs("paypal") / "webhooks_v1.openapi.json"


def money(value: str) -> dict[str, str]:
    return {"currency_code": "EUR", "value": value}


def link(rel: str, path: str, method: str = "GET") -> dict[str, str]:
    return {"href": f"https://api-m.paypal.com{path}", "rel": rel, "method": method}


CAPTURE_SHOWN: dict[str, Any] = {
    "id": CAPTURE,
    "status": "PARTIALLY_REFUNDED",
    "status_details": {"reason": "OTHER"},
    "amount": money("90.00"),
    "invoice_id": "1042",
    "custom_id": "shop-1042",
    "final_capture": True,
    "create_time": "2026-11-20T09:00:00Z",
    "update_time": "2026-11-20T09:00:00Z",
    "supplementary_data": {"related_ids": {"order_id": ORDER, "authorization_id": AUTHORISATION}},
    "links": [link("self", f"/v2/payments/captures/{CAPTURE}")],
}
AUTHORISATION_SHOWN: dict[str, Any] = {
    "id": AUTHORISATION,
    "status": "CREATED",
    "amount": money("42.50"),
    "invoice_id": "1042",
    "expiration_time": "2026-12-19T09:00:00Z",
    "create_time": "2026-11-20T09:00:00Z",
    "update_time": "2026-11-20T09:00:00Z",
    "supplementary_data": {"related_ids": {"order_id": ORDER}},
    "links": [link("void", f"/v2/payments/authorizations/{AUTHORISATION}/void", "POST")],
}
REFUND_SHOWN: dict[str, Any] = {
    "id": REFUND_ID,
    "status": "COMPLETED",
    "status_details": {"reason": "ECHECK"},
    "amount": money("42.50"),
    "custom_id": REFUND.step_key,
    "invoice_id": f"{REFUND.step_key}-1",
    "acquirer_reference_number": "74537604221222132710572",
    "note_to_payer": "Refund for order #1042",
    "seller_payable_breakdown": {
        "gross_amount": money("42.50"),
        "paypal_fee": money("1.27"),
        "net_amount": money("41.23"),
        "total_refunded_amount": money("42.50"),
    },
    "create_time": "2026-11-25T09:00:00Z",
    "update_time": "2026-11-25T09:00:00Z",
    "links": [
        link("self", f"/v2/payments/refunds/{REFUND_ID}"),
        link("up", f"/v2/payments/captures/{CAPTURE}"),
    ],
}
INSIDE = {name: value for name, value in CAPTURE_SHOWN.items() if name != "supplementary_data"}
ORDER_SHOWN: dict[str, Any] = {
    "id": ORDER,
    "status": "COMPLETED",
    "intent": "CAPTURE",
    "purchase_units": [
        {
            "reference_id": "default",
            "amount": money("90.00"),
            "payments": {"captures": [INSIDE], "refunds": [REFUND_SHOWN]},
        }
    ],
    "links": [link("self", f"/v2/checkout/orders/{ORDER}")],
}
DISPUTE_LISTED: dict[str, Any] = {
    "dispute_id": "PP-D-12345",
    "create_time": "2026-11-22T09:00:00.000Z",
    "update_time": "2026-11-23T09:00:00.000Z",
    "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
    "status": "RESOLVED",
    "dispute_state": "RESOLVED",
    "dispute_amount": money("90.00"),
    "dispute_life_cycle_stage": "CHARGEBACK",
    "dispute_channel": "INTERNAL",
    "links": [link("self", f"{DISPUTES}/PP-D-12345")],
}
DISPUTE_SHOWN: dict[str, Any] = {
    **{n: v for n, v in DISPUTE_LISTED.items() if n != "dispute_state"},
    "disputed_transactions": [{"seller_transaction_id": CAPTURE, "gross_amount": money("90.00")}],
    "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR", "amount_refunded": money("0.00")},
}


def test_every_declared_call_is_described(payments: Path, disputes: Path) -> None:
    paths = load(payments)["paths"] | load(disputes)["paths"]
    calls = [o.call.split() for c, o in SPEC.operations.items() if c is not Capability.INBOUND]
    assert [c for c in calls if c[0].lower() not in paths.get(c[1], {})] == []


def test_the_life_of_a_key_is_the_published_one(payments: Path) -> None:
    described = load(payments)["components"]["parameters"]["paypal_request_id"]["description"]
    assert "45 days" in described
    assert SPEC.operations[Capability.REFUND].key_lifetime_h == 45 * 24


class TestPayments:
    @pytest.mark.parametrize("order_number", ["#1042", ""])
    def test_a_refund_is_sent_as_described(self, payments: Path, order_number: str) -> None:
        http = FakeHttp(answer(500))
        PayPal(http).refund(replace(REFUND, order_number=order_number))
        check_request(payments, "post", f"{CAPTURES}/refund", http.sent)

    def test_what_is_looked_for_later_keeps_its_published_shape(self, payments: Path) -> None:
        http = FakeHttp(answer(500))
        PayPal(http).refund(REFUND)
        kept = {name: http.sent.json[name] for name in ("custom_id", "invoice_id")}
        check_document(payments, {"id": "X", **kept}, "/components/schemas/refund")

    @pytest.mark.parametrize(
        ("status", "family"),
        [
            ("COMPLETED", "Done"),
            ("PENDING", "Pending"),
            ("FAILED", "Permanent"),
            ("CANCELLED", "Permanent"),
        ],
    )
    def test_a_refund_is_read_in_every_state(self, payments: Path, status: str, family: str) -> None:
        told = REFUND_SHOWN | {"status": status}
        check_response(payments, "post", f"{CAPTURES}/refund", 201, told, declared_only=True)
        assert type(PayPal(FakeHttp(answer(201, told))).refund(REFUND)).__name__ == family

    def test_every_published_state_is_known(self, payments: Path) -> None:
        schemas = load(payments)["components"]["schemas"]
        assert set(_REFUND_STATUSES) == set(schemas["refund_status"]["properties"]["status"]["enum"])
        unknown = []
        for status in schemas["capture_status"]["properties"]["status"]["enum"]:
            capture = read_capture_object(CAPTURE_SHOWN | {"status": status}, "invoice_id")
            assert capture is not None
            said = capture_facts(capture, None, timedelta(days=180))
            if not isinstance(said, PaymentFacts):
                unknown.append(status)
        assert unknown == ["PENDING"]

    def test_a_release_is_sent_and_read_as_described(self, payments: Path) -> None:
        voided = AUTHORISATION_SHOWN | {"status": "VOIDED"}
        check_response(payments, "get", AUTHORISATIONS, 200, AUTHORISATION_SHOWN, declared_only=True)
        check_response(payments, "post", f"{AUTHORISATIONS}/void", 200, voided, declared_only=True)
        http = FakeHttp(answer(200, AUTHORISATION_SHOWN), answer(200, voided))
        assert PayPal(http).void_payment(VOID) == Done(AUTHORISATION)
        check_request(payments, "get", AUTHORISATIONS, http.requests[0])
        check_request(payments, "post", f"{AUTHORISATIONS}/void", http.requests[1])
        assert PayPal(FakeHttp(answer(200, voided))).find_void_payment(VOID) == Done(AUTHORISATION)

    def test_refusals_that_mean_more_than_no_are_published(self, payments: Path) -> None:
        schemas = load(payments)["components"]["schemas"]
        known = set(json.dumps(schemas).split('"')) | {"RATE_LIMIT_REACHED"}
        # The last one is a precaution of ours for what no description mentions.
        assert set(REFUSALS) - known == {"PAYPAL_REQUEST_ID_PREVIOUSLY_USED"}

    @pytest.mark.parametrize("status", [400, 409, 422])
    def test_every_published_refusal_of_a_refund_is_no_yes(self, payments: Path, status: int) -> None:
        schema = "409" if status == 409 else f"captures.refund-{status}"
        for detail in published(payments, schema):
            told = refusal(status, detail)
            check_response(payments, "post", f"{CAPTURES}/refund", status, told)
            said = PayPal(FakeHttp(answer(status, told))).refund(REFUND)
            means = REFUSALS.get(detail["issue"])
            expected = Unknown if means is Means.LOOK else Retryable if means is Means.AGAIN else Permanent
            assert isinstance(said, expected), detail["issue"]

    def test_every_published_refusal_of_a_release_is_read(self, payments: Path) -> None:
        families = {}
        for detail in published(payments, "authorizations.void-422"):
            told = refusal(422, detail)
            check_response(payments, "post", f"{AUTHORISATIONS}/void", 422, told)
            http = FakeHttp(answer(200, AUTHORISATION_SHOWN), answer(422, told))
            families[detail["issue"]] = type(PayPal(http).void_payment(VOID)).__name__
        assert families == {
            "PREVIOUSLY_VOIDED": "AlreadyDone",
            "PREVIOUSLY_CAPTURED": "Permanent",
            "CANNOT_BE_VOIDED": "Permanent",
        }

    def test_a_missing_payment_is_missing_as_described(self, payments: Path) -> None:
        (detail,) = published(payments, "404")
        told = refusal(404, detail)
        check_response(payments, "get", CAPTURES, 404, told)
        http = FakeHttp(answer(404, told), answer(404, told))
        assert isinstance(PayPal(http).read_payment("", CAPTURE), NotFound)
        check_request(payments, "get", CAPTURES, http.requests[0])
        check_request(payments, "get", AUTHORISATIONS, http.requests[1])


def published(payments: Path, schema: str) -> list[dict[str, str]]:
    """The details that a schema of refusals names: issue and description, word for word."""
    described = load(payments)["components"]["schemas"][schema]["properties"]["details"]["items"]
    found = []
    for one in described.get("anyOf") or described.get("oneOf") or [described]:
        fields = one["properties"]
        detail = {name: fields[name].get("enum", ["no"])[0] for name in ("issue", "description")}
        found.append(detail)
    assert found, schema
    return found


def refusal(status: int, detail: dict[str, str]) -> dict[str, Any]:
    name, message = {
        400: (
            "INVALID_REQUEST",
            "Request is not well-formed, syntactically incorrect, or violates schema.",
        ),
        404: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
        409: ("RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."),
        422: (
            "UNPROCESSABLE_ENTITY",
            "The requested action could not be performed, semantically incorrect, or failed business validation.",
        ),
    }[status]
    return {"name": name, "message": message, "debug_id": "90957fca61718", "details": [detail], "links": []}


class TestReading:
    def test_a_payment_is_asked_for_and_read_as_described(
        self, payments: Path, orders: Path, disputes: Path
    ) -> None:
        check_response(payments, "get", CAPTURES, 200, CAPTURE_SHOWN, declared_only=True)
        check_response(disputes, "get", DISPUTES, 200, {"items": [DISPUTE_LISTED]}, declared_only=True)
        check_response(disputes, "get", f"{DISPUTES}/{{id}}", 200, DISPUTE_SHOWN, declared_only=True)
        check_response(orders, "get", ORDERS, 200, ORDER_SHOWN, declared_only=True)
        http = FakeHttp(
            answer(200, CAPTURE_SHOWN),
            answer(200, {"items": [DISPUTE_LISTED]}),
            answer(200, DISPUTE_SHOWN),
            answer(200, ORDER_SHOWN),
        )
        facts = PayPal(http).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert (facts.state, facts.captured, facts.order_number) == (
            PaymentState.CAPTURED,
            Money(9000, "EUR"),
            "1042",
        )
        assert [(r.reference, r.amount.minor, r.status, r.step_key) for r in facts.refunds] == [
            (REFUND_ID, 4250, RefundStatus.SUCCEEDED, REFUND.step_key)
        ]
        assert facts.dispute is DisputeState.WON
        check_request(payments, "get", CAPTURES, http.requests[0])
        check_request(disputes, "get", DISPUTES, http.requests[1])
        check_request(disputes, "get", f"{DISPUTES}/{{id}}", http.requests[2])
        check_request(orders, "get", ORDERS, http.requests[3])

    def test_further_disputes_are_asked_for_as_described(self, disputes: Path) -> None:
        more = {
            "items": [DISPUTE_LISTED | {"status": "OPEN"}],
            "links": [link("next", f"{DISPUTES}?next_page_token=Mg==")],
        }
        http = FakeHttp(answer(200, CAPTURE_SHOWN), answer(200, more), answer(500))
        PayPal(http).read_payment("", CAPTURE)
        check_request(disputes, "get", DISPUTES, http.requests[2])

    def test_a_refund_is_looked_for_as_described(self, payments: Path, orders: Path) -> None:
        check_response(payments, "get", REFUNDS, 200, REFUND_SHOWN, declared_only=True)
        http = FakeHttp(answer(200, CAPTURE_SHOWN), answer(200, ORDER_SHOWN), answer(200, REFUND_SHOWN))
        assert isinstance(PayPal(http).find_refund(REFUND), Done)
        check_request(orders, "get", ORDERS, http.requests[1])
        check_request(payments, "get", REFUNDS, http.requests[2])

    def test_a_check_is_sent_as_described(self, disputes: Path) -> None:
        http = FakeHttp(answer(500))
        PayPal(http).check()
        check_request(disputes, "get", DISPUTES, http.sent)

    def test_every_published_stage_and_end_of_a_dispute_is_known_by_name(self, disputes: Path) -> None:
        schemas = load(disputes)["components"]["schemas"]
        stages = schemas["dispute_lifecycle_stage"]["enum"]
        said = {
            s: dispute_state({"status": "OPEN", "dispute_life_cycle_stage": s, "dispute_channel": "INTERNAL"})
            for s in stages
        }
        assert {s for s, state in said.items() if state is DisputeState.OPEN} == {
            "CHARGEBACK",
            "PRE_ARBITRATION",
            "ARBITRATION",
        }
        ends = schemas["dispute_outcome"]["properties"]["outcome_code"]["enum"]
        # NONE says nothing of where the money is: it stays open until a person has looked.
        assert set(ends) - set(_OUTCOMES) == {"NONE"}
        assert set(_OUTCOMES) <= set(ends)
        assert "RESOLVED" in schemas["status"]["enum"]


class TestWebhooks:
    def test_the_question_about_a_delivery_is_asked_as_described(self, webhooks: Path) -> None:
        vector = load(specs("paypal") / "webhook_signature_vector.json")
        check_response(
            webhooks,
            "post",
            "/v1/notifications/verify-webhook-signature",
            200,
            {"verification_status": "SUCCESS"},
        )
        http = FakeHttp(answer(200, {"verification_status": "SUCCESS"}))
        said = PayPalInbound(vector["webhook_id"], ApiCheck(http)).verify(
            delivery_of(vector), datetime.now(UTC)
        )
        assert said == Verified("WH-0G2756385H040842W-5Y612302CV158622M", "PAYMENT.SALE.COMPLETED")
        sent: Request = http.sent
        assert sent.body is not None
        assert vector["raw_body"].encode() in sent.body
        check_request(
            webhooks,
            "post",
            "/v1/notifications/verify-webhook-signature",
            replace(sent, body=None, json=parse_json(sent.body)),
        )

    def test_the_published_message_is_what_we_check(self) -> None:
        vector = load(specs("paypal") / "webhook_signature_vector.json")
        body = vector["raw_body"].encode()
        signed = Transmission(
            vector["transmission_id"],
            vector["transmission_time"],
            vector["transmission_sig_base64"],
            vector["cert_url"],
            vector["auth_algo"],
        )
        assert str(zlib.crc32(body)) == vector["crc32_decimal"]
        assert signed_message(signed, vector["webhook_id"], body).decode() == vector["signed_message"]
        assert address_refusal(vector["cert_url"], ".paypal.com") == ""
        assert signed_message(signed, vector["webhook_id"], body + b" ").decode() != vector["signed_message"]

    @pytest.mark.parametrize(
        ("topic", "resource", "kind", "family"),
        [
            ("PAYMENT.CAPTURE.REFUNDED", REFUND_SHOWN, "refund", RefundSeen),
            ("PAYMENT.CAPTURE.REVERSED", CAPTURE_SHOWN, "capture", DisputeSeen),
            ("CUSTOMER.DISPUTE.RESOLVED", DISPUTE_SHOWN, "dispute", DisputeSeen),
        ],
    )
    def test_published_objects_are_read_inside_their_events(
        self, webhooks: Path, topic: str, resource: Any, kind: str, family: type
    ) -> None:
        event = {
            "id": "WH-1",
            "create_time": "2026-11-25T09:00:00Z",
            "event_type": topic,
            "resource_type": kind,
            "resource_version": "2.0",
            "resource": resource,
        }
        check_document(webhooks, event, "/components/schemas/event")
        reading = PayPalInbound("ONE", ApiCheck(FakeHttp())).read_event(topic, json.dumps(event).encode())
        assert isinstance(reading, family)
        assert reading.payment_reference == CAPTURE  # type: ignore[union-attr] # both have one


def delivery_of(vector: Any) -> Delivery:
    return Delivery(
        {
            "paypal-transmission-id": vector["transmission_id"],
            "paypal-transmission-time": vector["transmission_time"],
            "paypal-transmission-sig": vector["transmission_sig_base64"],
            "paypal-cert-url": vector["cert_url"],
            "paypal-auth-algo": vector["auth_algo"],
        },
        vector["raw_body"].encode(),
    )
