"""The practice Stripe is as strict as the real one, and its book holds exactly what happened."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from falcon import testing

from refundflow.sandbox.app import create_app
from refundflow.sandbox.base import Event, World
from refundflow.sandbox.stripe import Stripe
from tests.support.specs import check_document, check_response, load, specs

KEY = {"Authorization": "Bearer sk_test_practice"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Shop:
    """A practice Stripe with one captured payment of 42.50 EUR, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.world = World([Stripe], clock=lambda: self.now, send=self.receive)
        self.client = testing.TestClient(create_app(self.world))
        self.deliveries: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.seed(id="pi_paid", amount=4250, currency="eur", metadata={"order": "1042"})

    def receive(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((url, dict(headers), body))
        return self.statuses.pop(0) if self.statuses else 200

    def seed(self, **intent: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.world.seed({"stripe": {"payment_intents": [intent]}})["stripe"]
        return dict(made["payment_intents"][0])

    def post(self, path: str, key: str | None = None, **form: Any) -> testing.Result:
        headers = KEY | FORM | ({"Idempotency-Key": key} if key else {})
        fields = {
            name.replace("__", "[") + ("]" if "__" in name else ""): value for name, value in form.items()
        }
        return self.client.simulate_post(f"/stripe/v1/{path}", headers=headers, body=urlencode(fields))

    def get(self, path: str, **query: Any) -> testing.Result:
        return self.client.simulate_get(f"/stripe/v1/{path}", headers=KEY, query_string=urlencode(query))

    def control(self, path: str, body: Any) -> testing.Result:
        return self.client.simulate_post(f"/_sandbox/{path}", json=body)

    @property
    def paid_back(self) -> list[int]:
        return [line["amount_minor"] for line in self.world.vendor("stripe").book.lines("refund")]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def error_of(result: testing.Result) -> tuple[int, str | None]:
    return result.status_code, result.json["error"].get("code")


def test_a_refund_is_written_to_the_book_with_amount_reference_and_key(shop: Shop) -> None:
    result = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000, metadata__refund="rf_1")

    assert (result.status_code, result.json["status"], result.json["amount"]) == (200, "succeeded", 1000)
    lines = shop.world.vendor("stripe").book.lines()
    assert [
        (x["effect"], x["id"], x["amount_minor"], x["currency"], x["reference"], x["idempotency_key"])
        for x in lines
    ] == [("refund", result.json["id"], 1000, "EUR", {"refund": "rf_1"}, "rf:1")]
    charge = shop.get(f"charges/{result.json['charge']}").json
    assert (charge["amount_captured"], charge["amount_refunded"], charge["refunded"]) == (4250, 1000, False)


def test_the_same_key_and_parameters_replay_the_first_answer_and_pay_once(shop: Shop) -> None:
    first = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    second = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)

    assert second.json == first.json
    assert second.headers["idempotent-replayed"] == "true"
    assert shop.paid_back == [1000]


def test_the_same_key_with_other_parameters_is_an_idempotency_error(shop: Shop) -> None:
    shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    result = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1001)

    assert (result.status_code, result.json["error"]["type"]) == (400, "idempotency_error")
    assert shop.paid_back == [1000]


def test_an_error_that_began_executing_is_kept_under_its_key(shop: Shop) -> None:
    refused = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=4251)
    shop.seed(id="pi_other", amount=100, currency="eur")
    again = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=4251)

    assert error_of(refused) == (400, "amount_too_large")
    assert again.json == refused.json
    assert again.headers["idempotent-replayed"] == "true"


def test_a_request_that_failed_validation_leaves_its_key_free(shop: Shop) -> None:
    assert error_of(shop.post("refunds", "rf:1", payment_intent="pi_gone", amount=1)) == (
        404,
        "resource_missing",
    )
    assert shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1).status_code == 200


def test_a_key_is_forgotten_after_24_hours_and_then_pays_again(shop: Shop) -> None:
    shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    shop.now += timedelta(hours=23, minutes=59)
    shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    assert shop.paid_back == [1000]

    shop.now += timedelta(minutes=1)
    shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    assert shop.paid_back == [1000, 1000]


def test_a_stored_500_is_replayed_though_nothing_was_paid(shop: Shop) -> None:
    shop.control(
        "faults", {"vendor": "stripe", "operation": "create_refund", "kind": "status", "status": 500}
    )
    answers = [shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000) for _ in range(2)]

    assert [each.status_code for each in answers] == [500, 500]
    assert "idempotent-replayed" in answers[1].headers
    assert shop.paid_back == []


def test_a_429_is_not_stored_so_the_same_key_pays_afterwards(shop: Shop) -> None:
    shop.control(
        "faults", {"vendor": "stripe", "kind": "status", "status": 429, "headers": {"Retry-After": "1"}}
    )
    refused = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    paid = shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)

    assert (error_of(refused), refused.headers["retry-after"]) == ((429, "rate_limit"), "1")
    assert (paid.status_code, shop.paid_back) == (200, [1000])


@pytest.mark.parametrize(
    ("_case", "form", "wanted"),
    [
        ("more than is left", {"payment_intent": "pi_paid", "amount": 4251}, (400, "amount_too_large")),
        ("nothing", {"payment_intent": "pi_paid", "amount": 0}, (400, "parameter_invalid_integer")),
        ("a decimal", {"payment_intent": "pi_paid", "amount": "10.50"}, (400, "parameter_invalid_integer")),
        ("no target", {"amount": 1}, (400, "parameter_missing")),
        ("two targets", {"payment_intent": "pi_paid", "charge": "ch_1", "amount": 1}, (400, None)),
        ("an unknown target", {"payment_intent": "pi_gone", "amount": 1}, (404, "resource_missing")),
        ("an unknown parameter", {"payment_intent": "pi_paid", "amuont": 1}, (400, "parameter_unknown")),
        ("an unknown reason", {"payment_intent": "pi_paid", "amount": 1, "reason": "because"}, (400, None)),
        ("another currency", {"payment_intent": "pi_paid", "amount": 1, "currency": "usd"}, (400, None)),
    ],
)
def test_a_refund_that_stripe_would_refuse_is_refused_and_pays_nothing(
    shop: Shop, _case: str, form: dict[str, Any], wanted: tuple[int, str | None]
) -> None:
    assert error_of(shop.post("refunds", **form)) == wanted
    assert shop.world.vendor("stripe").book.lines() == []


def test_an_omitted_amount_refunds_what_is_left(shop: Shop) -> None:
    shop.post("refunds", payment_intent="pi_paid", amount=4000)
    shop.post("refunds", payment_intent="pi_paid")

    assert shop.paid_back == [4000, 250]
    assert error_of(shop.post("refunds", payment_intent="pi_paid")) == (400, "charge_already_refunded")


def test_json_bodies_wrong_keys_and_wrong_versions_are_refused(shop: Shop) -> None:
    path = "/stripe/v1/refunds"
    body = json.dumps({"payment_intent": "pi_paid", "amount": 1})
    answers = [
        shop.client.simulate_post(path, headers=KEY | {"Content-Type": "application/json"}, body=body),
        shop.client.simulate_post(path, headers=FORM, body="payment_intent=pi_paid"),
        shop.client.simulate_post(
            path, headers=FORM | {"Authorization": "Bearer sk_live_x"}, body="amount=1"
        ),
        shop.client.simulate_get(path, headers=KEY | {"Stripe-Version": "latest"}),
        shop.client.simulate_get("/stripe/v1/customers", headers=KEY),
    ]

    assert [each.status_code for each in answers] == [400, 401, 401, 400, 404]
    assert shop.paid_back == []


def test_an_authorised_payment_is_released_once_and_cannot_be_refunded(shop: Shop) -> None:
    shop.seed(id="pi_held", amount=900, currency="eur", status="requires_capture")
    refused = shop.post("refunds", payment_intent="pi_held", amount=900)
    released = shop.post("payment_intents/pi_held/cancel", cancellation_reason="requested_by_customer")
    again = shop.post("payment_intents/pi_held/cancel")

    assert error_of(refused) == (400, "payment_intent_unexpected_state")
    assert (released.json["status"], released.json["amount_capturable"]) == ("canceled", 0)
    assert error_of(again) == (400, "payment_intent_unexpected_state")
    book = shop.world.vendor("stripe").book.lines()
    assert [(x["effect"], x["amount_minor"]) for x in book] == [("void", 900)]


def test_a_chargeback_stops_refunds_and_a_won_one_lets_them_through(shop: Shop) -> None:
    made = shop.seed(id="pi_disputed", amount=500, currency="eur", dispute={"status": "needs_response"})
    refused = shop.post("refunds", payment_intent="pi_disputed", amount=500)
    listed = shop.get("disputes", payment_intent="pi_disputed").json["data"]
    shop.control("settle", {"vendor": "stripe", "dispute": made["dispute"], "status": "won"})
    paid = shop.post("refunds", payment_intent="pi_disputed", amount=500)

    assert error_of(refused) == (400, "charge_disputed")
    assert [(x["id"], x["status"], x["is_charge_refundable"]) for x in listed] == [
        (made["dispute"], "needs_response", False)
    ]
    assert (paid.status_code, shop.paid_back) == (200, [500])


def test_an_inquiry_may_be_refunded_in_full_and_is_closed_by_it(shop: Shop) -> None:
    made = shop.seed(id="pi_asked", amount=500, currency="eur", dispute={"status": "warning_needs_response"})
    assert shop.post("refunds", payment_intent="pi_asked", amount=500).status_code == 200
    assert shop.get(f"disputes/{made['dispute']}").json["status"] == "warning_closed"
    assert shop.paid_back == [500]


def test_a_pending_refund_is_settled_later_and_a_failed_one_gives_the_amount_back(shop: Shop) -> None:
    shop.control("faults", {"vendor": "stripe", "operation": "create_refund", "kind": "slow_pending"})
    refund = shop.post("refunds", payment_intent="pi_paid", amount=1000).json
    assert (refund["status"], refund["pending_reason"], refund["balance_transaction"]) == (
        "pending",
        "processing",
        None,
    )

    moved = shop.control("settle", {"vendor": "stripe", "refund": refund["id"], "status": "succeeded"}).json
    assert [each["status"] for each in moved] == ["succeeded"]
    shop.control("settle", {"vendor": "stripe", "refund": refund["id"], "status": "failed"})
    failed = shop.get(f"refunds/{refund['id']}").json
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    back = shop.get(f"balance_transactions/{failed['failure_balance_transaction']}").json
    assert (back["amount"], back["net"], back["type"]) == (1000, 1000, "refund_failure")
    assert shop.get(f"charges/{refund['charge']}").json["amount_refunded"] == 0
    effects = [(x["effect"], x["amount_minor"]) for x in shop.world.vendor("stripe").book.lines()]
    assert effects == [("refund", 1000), ("refund_failed", 1000)]


def test_a_refund_marked_to_fail_late_fails_when_told(shop: Shop) -> None:
    shop.control("faults", {"vendor": "stripe", "operation": "create_refund", "kind": "late_failure"})
    refund = shop.post("refunds", payment_intent="pi_paid", amount=1000).json
    assert refund["status"] == "succeeded"
    assert [x["status"] for x in shop.control("settle", {"vendor": "stripe"}).json] == ["failed"]
    assert shop.get(f"refunds/{refund['id']}").json["status"] == "failed"
    assert shop.control("settle", {"vendor": "stripe"}).json == []


def test_only_a_refund_that_waits_for_the_customer_can_be_cancelled(shop: Shop) -> None:
    shop.control("faults", {"vendor": "stripe", "kind": "slow_pending", "code": "requires_action"})
    waiting = shop.post("refunds", payment_intent="pi_paid", amount=1000).json
    sent = shop.post("refunds", payment_intent="pi_paid", amount=1000).json

    assert shop.post(f"refunds/{waiting['id']}/cancel").json["status"] == "canceled"
    assert shop.post(f"refunds/{sent['id']}/cancel").status_code == 400


def test_a_refund_made_by_hand_is_seen_in_the_list_and_in_the_book(shop: Shop) -> None:
    shop.control(
        "settle", {"vendor": "stripe", "payment_intent": "pi_paid", "dashboard_refund": {"amount": 4250}}
    )
    assert [each["amount"] for each in shop.get("refunds", payment_intent="pi_paid").json["data"]] == [4250]
    assert [line["by"] for line in shop.world.vendor("stripe").book.lines()] == ["dashboard"]


def test_lists_page_newest_first_with_a_cursor(shop: Shop) -> None:
    ids = [shop.post("refunds", payment_intent="pi_paid", amount=10 + n).json["id"] for n in range(3)]
    first = shop.get("refunds", payment_intent="pi_paid", limit=2).json
    second = shop.get("refunds", payment_intent="pi_paid", limit=2, starting_after=ids[1]).json

    assert ([x["id"] for x in first["data"]], first["has_more"]) == ([ids[2], ids[1]], True)
    assert ([x["id"] for x in second["data"]], second["has_more"]) == ([ids[0]], False)
    assert error_of(shop.get("refunds", starting_after="re_gone")) == (400, "resource_missing")
    assert error_of(shop.get("refunds", limit=101)) == (400, "parameter_invalid_integer")
    assert shop.get("refunds", payment_intent="pi_gone").json["data"] == []


def test_expand_puts_the_charge_and_its_refunds_in_place(shop: Shop) -> None:
    refund = shop.post("refunds", payment_intent="pi_paid", amount=10).json
    shown = shop.get("payment_intents/pi_paid", **{"expand[]": "latest_charge.refunds"}).json
    plain = shop.get("payment_intents/pi_paid").json

    assert [each["id"] for each in shown["latest_charge"]["refunds"]["data"]] == [refund["id"]]
    assert plain["latest_charge"] == shown["latest_charge"]["id"]
    assert shop.get("payment_intents/pi_paid", **{"expand[]": "nonsense"}).status_code == 400


def test_payments_are_found_by_their_metadata(shop: Shop) -> None:
    found = shop.get("payment_intents/search", query="metadata['order']:'1042' AND status:'succeeded'").json
    assert [each["id"] for each in found["data"]] == ["pi_paid"]
    assert shop.get("payment_intents/search", query="metadata['order']:'9'").json["data"] == []
    assert shop.get("payment_intents/search", query="order=1042").status_code == 400


def test_events_are_sent_signed_in_order_and_tried_again_until_taken(shop: Shop) -> None:
    subscription = {"url": "http://shop.example/hooks", "secret": "whsec_1", "retry_waits_s": [0, 0]}
    shop.client.simulate_put("/_sandbox/subscriptions", json={"stripe": subscription})
    shop.statuses = [500]
    shop.post("refunds", "rf:1", payment_intent="pi_paid", amount=1000)
    shop.world.webhooks.wait_idle()

    events = [json.loads(body) for _, _, body in shop.deliveries]
    assert [each["type"] for each in events] == ["refund.created", "refund.created", "charge.refunded"]
    assert events[0]["id"] == events[1]["id"]
    assert events[0]["request"]["idempotency_key"] == "rf:1"
    _, headers, body = shop.deliveries[0]
    at = int(shop.now.timestamp())
    signature = hmac.new(b"whsec_1", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["Stripe-Signature"] == f"t={at},v1={signature}"


def test_copies_of_a_webhook_keep_its_id_and_can_come_in_the_wrong_order(shop: Shop) -> None:
    refund = shop.post("refunds", payment_intent="pi_paid", amount=1000).json
    shop.control("settle", {"vendor": "stripe", "refund": refund["id"], "status": "failed"})
    asked = {
        "vendor": "stripe",
        "url": "http://shop.example/hooks",
        "secret": "whsec_1",
        "copies": 2,
        "order": "reversed",
        "events": [{"topic": t, "object": refund["id"]} for t in ("refund.created", "refund.failed")],
    }
    sent = shop.control("webhooks", asked).json["sent"]

    assert [each["topic"] for each in sent] == [
        "refund.failed",
        "refund.failed",
        "refund.created",
        "refund.created",
    ]
    assert [each["status"] for each in sent] == [200, 200, 200, 200]
    assert len({each["event_id"] for each in sent}) == 2
    assert {json.loads(body)["id"] for _, _, body in shop.deliveries} == {each["event_id"] for each in sent}


def test_the_signature_is_the_published_one() -> None:
    vector = load(specs("stripe") / "webhook_signature_vectors.json")["vectors"][0]
    world = World([Stripe], clock=lambda: datetime.fromtimestamp(vector["timestamp"], UTC))
    event = Event("evt_123", "customer.created", vector["raw_body"].encode())
    signed = world.vendor("stripe").sign(event, "", vector["secret"]).headers["Stripe-Signature"]
    assert vector["header"].startswith(f"{signed},")


def test_every_object_fits_the_published_description(shop: Shop) -> None:
    described = specs("stripe") / "stripe.openapi.json"
    disputed = shop.seed(id="pi_disputed", amount=500, currency="jpy", dispute={})
    shop.seed(id="pi_held", amount=900, currency="eur", status="requires_capture")
    shop.control("faults", {"vendor": "stripe", "kind": "slow_pending", "code": "requires_action"})
    waiting = shop.post("refunds", payment_intent="pi_paid", amount=10, reason="requested_by_customer")
    refund = shop.post("refunds", payment_intent="pi_paid", amount=10)
    shop.control("settle", {"vendor": "stripe", "refund": refund.json["id"], "status": "failed"})
    shop.control("settle", {"vendor": "stripe", "payment_intent": "pi_paid", "early_fraud_warning": "misc"})
    charge, event = refund.json["charge"], shop.get("events").json["data"][0]["id"]
    reads = [
        ("/v1/refunds/{refund}", f"refunds/{refund.json['id']}"),
        ("/v1/refunds/{refund}", f"refunds/{waiting.json['id']}"),
        ("/v1/refunds", "refunds"),
        ("/v1/payment_intents/{intent}", "payment_intents/pi_paid"),
        ("/v1/payment_intents", "payment_intents"),
        ("/v1/charges/{charge}", f"charges/{charge}"),
        ("/v1/charges", "charges"),
        ("/v1/disputes/{dispute}", f"disputes/{disputed['dispute']}"),
        ("/v1/disputes", "disputes"),
        ("/v1/balance_transactions/{id}", f"balance_transactions/{refund.json['balance_transaction']}"),
        ("/v1/events", "events"),
        ("/v1/events/{id}", f"events/{event}"),
    ]
    for template, path in reads:
        answer = shop.get(path)
        check_response(
            described, "GET", template, answer.status_code, answer.json, declared_only="events" not in path
        )
    for answer in (refund, waiting):
        check_response(described, "POST", "/v1/refunds", 200, answer.json, declared_only=True)
    released = shop.post("payment_intents/pi_held/cancel")
    check_response(
        described, "POST", "/v1/payment_intents/{intent}/cancel", 200, released.json, declared_only=True
    )
    refused = shop.post("refunds", payment_intent="pi_disputed", amount=10)
    check_document(described, refused.json, "/components/schemas/error")
    warning = next(iter(shop.world.vendors["stripe"].warnings.values()))  # type: ignore[attr-defined]  # the double's own
    check_document(described, warning, "/components/schemas/radar.early_fraud_warning")
