"""The front door over a real database: what it stores, what it refuses, and that its description tells the truth."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import jsonschema
import pytest
from falcon import testing
from sqlalchemy import Engine, text

from refundflow.domain.inbound import Delivery, Greeting, Irrelevant, Reading, Verified
from refundflow.ingest.app import create_app
from refundflow.settings import IngestSettings
from refundflow.store.db import Database, head_revision, rows
from refundflow.transport.base import MaybeSentError, NotSentError
from refundflow.wiring import House, build
from tests.support.practice import API_KEY, OTHER_KEY, SECRETS, practice_settings

pytestmark = pytest.mark.integration

ORDER = {"order": "#1001"}
#: Nothing listens on port 1; no test here calls a vendor.
NOWHERE = "http://127.0.0.1:1"


class Door:
    """The application, its description, and every answer held against that description."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.client = testing.TestClient(create_app(house))
        self.document: dict[str, Any] = self.client.simulate_get("/openapi.json").json

    def call(self, method: str, path: str, template: str = "", **request: Any) -> testing.Result:
        """Calls, and fails where the answer is not one that the description knows."""
        answer = self.client.simulate_request(method, path, **request)
        described = self.document["paths"][template or path][method.lower()]["responses"]
        assert str(answer.status_code) in described, (answer.status_code, answer.text)
        content = described[str(answer.status_code)].get("content")
        if content:
            schema = {
                **content["application/json"]["schema"],
                "components": self.document["components"],
            }
            if "$ref" in schema:
                schema = {"$ref": schema["$ref"], "components": self.document["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json)
        return answer

    def ask(
        self, body: Any = ORDER, key: str = "k-1", api_key: str = API_KEY, **headers: str
    ) -> testing.Result:
        """Asks for a cancellation. `body`: bytes are sent as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": key, **headers}
        return self.call(
            "POST",
            "/v1/cancellations",
            body=raw,
            headers={"Content-Type": "application/json", **{n: v for n, v in sent.items() if v}},
        )

    def get(self, path: str, template: str, api_key: str = API_KEY) -> testing.Result:
        return self.call("GET", path, template, headers={"Authorization": f"Bearer {api_key}"})

    def hook(self, source: str, body: bytes, headers: dict[str, str]) -> testing.Result:
        return self.call("POST", f"/hooks/{source}", "/hooks/{source}", body=body, headers=headers)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.house.db.run(lambda connection: rows(connection, sql))

    def count(self) -> int:
        return int(self.rows("SELECT count(*) AS n FROM events")[0]["n"])


def shopify_headers(
    body: bytes, *, topic: str = "orders/cancelled", key: str = "w-1", secret: str = ""
) -> Any:
    digest = hmac.new((secret or SECRETS["shopify"]).encode(), body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "X-Shopify-Topic": topic,
        "X-Shopify-Webhook-Id": key,
        "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
    }


def stripe_headers(body: bytes, *, secret: str = "", age_s: int = 0) -> dict[str, str]:
    at = str(int(time.time()) - age_s)
    digest = hmac.new((secret or SECRETS["stripe"]).encode(), at.encode() + b"." + body, hashlib.sha256)
    return {"Content-Type": "application/json", "Stripe-Signature": f"t={at},v1={digest.hexdigest()}"}


CANCELLED = json.dumps(
    {"id": 5001, "name": "#1001", "cancelled_at": "2026-11-23T01:00:00Z", "email": "ada@customers.example"}
).encode()
REFUND_EVENT = json.dumps(
    {
        "object": "event",
        "id": "evt_1",
        "type": "charge.refunded",
        "data": {"object": {"id": "ch_1", "payment_intent": "pi_1"}},
    }
).encode()


@pytest.fixture
def door(emptied: Database) -> Iterator[Door]:
    house = build(practice_settings(emptied.url, NOWHERE))
    yield Door(house)
    house.db.close()


@pytest.fixture
def away() -> Iterator[Door]:
    house = build(practice_settings("postgresql+psycopg2://nobody@127.0.0.1:1/none", NOWHERE))
    yield Door(house)
    house.db.close()


# ---------------------------------------------------------------- asking for a cancellation


def test_a_request_is_stored_as_it_came_and_answered_with_its_place(door: Door) -> None:
    answer = door.ask()
    event_id = answer.json["event_id"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/cancellations/{event_id}")
    (kept,) = door.rows("SELECT source, source_event_id, body, state, is_verified, headers FROM events")
    assert (kept["source"], kept["source_event_id"], kept["state"]) == ("api", "shop:k-1", "new")
    assert bytes(kept["body"]) == json.dumps(ORDER).encode()
    assert kept["is_verified"] is True
    assert "authorization" not in kept["headers"]


def test_the_same_key_with_the_same_body_gets_the_same_answer_and_is_stored_once(door: Door) -> None:
    first = door.ask({"order": "#1001", "reason": "customer"})
    again = door.ask({"order": "#1001", "reason": "customer"})
    respelt = door.ask(b'{ "reason": "customer",  "order": "#1001" }')
    assert first.json == again.json == respelt.json
    assert door.count() == 1


def test_the_same_key_with_another_body_is_a_conflict_and_the_first_stands(door: Door) -> None:
    door.ask()
    assert door.ask({"order": "#1002"}).status_code == 409
    (kept,) = door.rows("SELECT body FROM events")
    assert json.loads(bytes(kept["body"])) == ORDER


def test_the_same_key_of_another_caller_is_another_request(door: Door) -> None:
    first, second = door.ask(), door.ask({"order": "#1002"}, api_key=OTHER_KEY)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json["event_id"] != second.json["event_id"]


@pytest.mark.parametrize(
    ("name", "authorization"),
    [
        ("missing", ""),
        ("wrong_key", "Bearer wrong-key-0000000"),
        ("wrong_scheme", f"Basic {API_KEY}"),
        ("empty_key", "Bearer "),
        ("not_ascii", "Bearer schlüssel"),
        ("a_beginning_of_the_key", f"Bearer {API_KEY[:-1]}"),
    ],
)
def test_a_key_that_is_not_known_is_refused_and_nothing_is_stored(
    door: Door, name: str, authorization: str
) -> None:
    for answer in (
        door.ask(Authorization=authorization),
        door.call("GET", "/v1/cancellations/1", "/v1/cancellations/{event_id}", headers=_auth(authorization)),
        door.call("GET", "/v1/cases/RF-1", "/v1/cases/{case_id}", headers=_auth(authorization)),
    ):
        assert answer.status_code == 401, name
        assert answer.headers["www-authenticate"] == "Bearer"
    assert door.count() == 0


def _auth(authorization: str) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


@pytest.mark.parametrize(("name", "key"), [("missing", ""), ("too_long", "k" * 201)])
def test_a_request_without_a_usable_idempotency_key_is_400(door: Door, name: str, key: str) -> None:
    assert door.ask(key=key).status_code == 400, name
    assert door.count() == 0


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("not_json", b"{", "body"),
        ("empty", b"", "body"),
        ("not_utf8", b"\xff\xfe", "body"),
        ("a_list", [], "body"),
        ("null", None, "body"),
        ("a_text", "#1001", "body"),
        ("no_order", {}, "order"),
        ("order_null", {"order": None}, "order"),
        ("order_empty", {"order": ""}, "order"),
        ("order_blank", {"order": "  "}, "order"),
        ("order_number_as_integer", {"order": 1001}, "order"),
        ("order_too_long", {"order": "1" * 101}, "order"),
        ("order_with_two_names", {"order": {"id": "1", "number": "#1"}}, "order"),
        ("misspelt_field", {**ORDER, "line": []}, "line"),
        ("lines_empty", {**ORDER, "lines": []}, "lines"),
        ("lines_no_list", {**ORDER, "lines": {}}, "lines"),
        ("line_without_quantity", {**ORDER, "lines": [{"line_id": "1"}]}, "lines[0]"),
        ("line_quantity_zero", {**ORDER, "lines": [{"line_id": "1", "quantity": 0}]}, "lines[0]"),
        ("line_quantity_true", {**ORDER, "lines": [{"line_id": "1", "quantity": True}]}, "lines[0]"),
        ("line_quantity_a_text", {**ORDER, "lines": [{"line_id": "1", "quantity": "1"}]}, "lines[0]"),
        (
            "line_with_more",
            {**ORDER, "lines": [{"line_id": "1", "quantity": 1}, {"line_id": "2", "quantity": 1, "x": 1}]},
            "lines[1]",
        ),
        ("a_line_twice", {**ORDER, "lines": [{"line_id": "1", "quantity": 1}] * 2}, "lines"),
        (
            "too_many_lines",
            {**ORDER, "lines": [{"line_id": str(i), "quantity": 1} for i in range(201)]},
            "lines",
        ),
        ("reason_unknown", {**ORDER, "reason": "whim"}, "reason"),
        ("reason_a_list", {**ORDER, "reason": []}, "reason"),
        ("requested_by_a_number", {**ORDER, "requested_by": 7}, "requested_by"),
        ("note_too_long", {**ORDER, "note": "n" * 2001}, "note"),
        ("note_with_a_nul", {**ORDER, "note": "a\x00b"}, "note"),
        ("order_with_a_nul", {"order": "#10\x0001"}, "order"),
        ("order_id_with_a_nul", {"order": {"id": "10\x0001"}}, "order"),
        ("half_a_surrogate", {"order": "#10\ud800"}, "order"),
        ("platform_too_long", {**ORDER, "platform": "p" * 41}, "platform"),
    ],
)
def test_a_body_that_is_not_right_is_422_and_names_the_field(
    door: Door, name: str, body: Any, field: str
) -> None:
    answer = door.ask(body)
    assert (answer.status_code, answer.json.get("title")) == (422, f"{field} is not right"), name
    assert door.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        ORDER,
        {"order": {"id": "gid://shopify/Order/1"}},
        {"order": {"number": "#1001"}, "platform": "shopify"},
        {**ORDER, "lines": [{"line_id": "1", "quantity": 2}], "reason": "inventory"},
        {**ORDER, "requested_by": "ann", "note": "wrong colour"},
    ],
)
def test_what_the_description_allows_is_taken(door: Door, body: Any) -> None:
    schema = {
        "$ref": "#/components/schemas/Cancellation",
        "components": door.document["components"],
    }
    jsonschema.Draft202012Validator(schema).validate(body)
    assert door.ask(body).status_code == 202


def test_the_description_itself_is_well_formed(door: Door) -> None:
    assert door.document["openapi"] == "3.1.0"
    for schema in door.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_body_that_is_too_large_is_413_at_both_doors(door: Door) -> None:
    house = replace(
        door.house, settings=replace(door.house.settings, ingest=IngestSettings(max_body_bytes=100))
    )
    small = Door(house)
    large = b"x" * 101
    assert small.ask(large).status_code == 413
    assert small.hook("shopify", large, shopify_headers(large)).status_code == 413
    assert small.ask().status_code == 202
    assert door.count() == 1


# ---------------------------------------------------------------- looking


def test_a_caller_sees_its_own_request_and_not_another_ones(door: Door) -> None:
    event_id = door.ask().json["event_id"]
    own = door.get(f"/v1/cancellations/{event_id}", "/v1/cancellations/{event_id}")
    other = door.get(f"/v1/cancellations/{event_id}", "/v1/cancellations/{event_id}", OTHER_KEY)
    none = door.get("/v1/cancellations/999", "/v1/cancellations/{event_id}")
    assert own.json == {"event_id": event_id, "status": "received", "case_id": None, "case_url": None}
    assert (other.status_code, none.status_code) == (404, 404)


def test_a_webhook_is_nobodys_request(door: Door) -> None:
    event_id = door.hook("shopify", CANCELLED, shopify_headers(CANCELLED)).json["event_id"]
    answer = door.get(f"/v1/cancellations/{event_id}", "/v1/cancellations/{event_id}")
    assert answer.status_code == 404


def test_a_number_beyond_the_database_is_simply_not_found(door: Door) -> None:
    answer = door.get(f"/v1/cancellations/{10**19}", "/v1/cancellations/{event_id}")
    assert answer.status_code == 404


def test_a_case_that_is_not_there_is_404(door: Door) -> None:
    assert door.get("/v1/cases/RF-NONE", "/v1/cases/{case_id}").status_code == 404


# ---------------------------------------------------------------- webhooks


def test_a_signed_webhook_is_stored_as_it_came(door: Door) -> None:
    answer = door.hook("shopify", CANCELLED, shopify_headers(CANCELLED))
    assert (answer.status_code, answer.json["status"]) == (200, "received")
    (kept,) = door.rows("SELECT source, source_event_id, topic, body, state FROM events")
    assert (kept["source"], kept["source_event_id"], kept["topic"], kept["state"]) == (
        "shopify",
        "w-1",
        "orders/cancelled",
        "new",
    )
    assert bytes(kept["body"]) == CANCELLED


def test_a_webhook_that_comes_three_times_is_stored_once_and_known(door: Door) -> None:
    answers = [door.hook("stripe", REFUND_EVENT, stripe_headers(REFUND_EVENT)).json for _ in range(3)]
    assert [a["status"] for a in answers] == ["received", "known", "known"]
    assert len({a["event_id"] for a in answers}) == 1
    assert door.count() == 1


@pytest.mark.parametrize(
    ("name", "source", "headers"),
    [
        ("shopify_wrong_secret", "shopify", shopify_headers(CANCELLED, secret="other")),
        ("shopify_other_body", "shopify", shopify_headers(b"{}")),
        ("shopify_no_signature", "shopify", {"X-Shopify-Topic": "orders/cancelled"}),
        ("shopify_no_topic", "shopify", shopify_headers(CANCELLED) | {"X-Shopify-Topic": ""}),
        ("shopify_not_ascii", "shopify", shopify_headers(CANCELLED) | {"X-Shopify-Hmac-Sha256": "ü"}),
        ("stripe_wrong_secret", "stripe", stripe_headers(CANCELLED, secret="whsec_other")),
        ("stripe_no_signature", "stripe", {}),
        ("stripe_nonsense", "stripe", {"Stripe-Signature": "t=x,v1=y"}),
        ("stripe_not_an_event", "stripe", stripe_headers(CANCELLED)),
    ],
)
def test_a_signature_that_does_not_hold_is_401_and_nothing_is_stored(
    door: Door, name: str, source: str, headers: dict[str, str]
) -> None:
    assert door.hook(source, CANCELLED, headers).status_code == 401, name
    assert door.count() == 0


def test_a_signature_from_yesterday_is_refused(door: Door) -> None:
    answer = door.hook("stripe", REFUND_EVENT, stripe_headers(REFUND_EVENT, age_s=86_400))
    assert answer.status_code == 401
    assert door.count() == 0


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("not_json", b"{"),
        ("not_utf8", b"\xff\xfe\x00"),
        ("a_list", b"[]"),
        ("no_id", b'{"name": "#1001"}'),
        ("id_a_text", b'{"id": "5001"}'),
    ],
)
def test_a_signed_body_that_cannot_be_read_is_422_and_kept_raw_for_a_person(
    door: Door, name: str, body: bytes
) -> None:
    answer = door.hook("shopify", body, shopify_headers(body))
    assert answer.status_code == 422, name
    (kept,) = door.rows("SELECT id, state, body, due_at, note FROM events")
    assert (kept["state"], bytes(kept["body"]), kept["due_at"]) == ("unreadable", body, None)
    assert kept["note"] != ""
    assert f"event {kept['id']}" in answer.json["detail"]
    assert door.hook("shopify", body, shopify_headers(body)).status_code == 422
    assert door.count() == 1


@pytest.mark.parametrize("source", ["acme", "api", "portal", "inventory-flags", "xero", "notion"])
def test_a_source_that_is_not_set_up_is_404(door: Door, source: str) -> None:
    assert door.hook(source, b"{}", {}).status_code == 404
    assert door.count() == 0


# ---------------------------------------------------------------- trouble


def test_while_the_database_is_away_every_door_says_come_again(away: Door) -> None:
    for answer in (
        away.ask(),
        away.hook("shopify", CANCELLED, shopify_headers(CANCELLED)),
        away.get("/v1/cancellations/1", "/v1/cancellations/{event_id}"),
        away.call("GET", "/readyz"),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")


def test_it_is_alive_without_a_database_and_ready_only_with_its_own_schema(door: Door, away: Door) -> None:
    assert away.call("GET", "/healthz").json == {"status": "ok"}
    assert door.call("GET", "/readyz").json == {"status": "ready", "schema": head_revision()}


def test_it_is_not_ready_before_the_migration(migrated_server: Engine) -> None:
    with migrated_server.connect() as connection:
        connection.execute(text("CREATE DATABASE refundflow_bare"))
    url = migrated_server.url.set(database="refundflow_bare").render_as_string(hide_password=False)
    house = build(practice_settings(url, NOWHERE))
    try:
        answer = Door(house).call("GET", "/readyz")
        assert answer.status_code == 503
        assert "run `refundflow db upgrade`" in answer.json["detail"]
    finally:
        house.db.close()
        with migrated_server.connect() as connection:
            connection.execute(text("DROP DATABASE refundflow_bare WITH (FORCE)"))


class _Signer:
    """A source whose deliveries are checked with something that must be fetched first."""

    platform = "stripe"

    def __init__(self, said: Greeting | Exception) -> None:
        self.said = said

    def verify(self, delivery: Delivery, now: datetime) -> Greeting:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    def read_event(self, topic: str, body: bytes) -> Reading:
        raise AssertionError("nothing was verified")


def with_source(door: Door, said: Greeting | Exception) -> Door:
    context = door.house.context
    platforms = replace(context.platforms, inbound={"stripe": _Signer(said)})
    return Door(replace(door.house, context=replace(context, platforms=platforms)))


@pytest.mark.parametrize("error", [NotSentError("refused"), MaybeSentError("reset")])
def test_a_delivery_that_cannot_be_verified_yet_is_neither_stored_nor_lost(
    door: Door, error: Exception
) -> None:
    answer = with_source(door, error).hook("stripe", REFUND_EVENT, {"Content-Type": "application/json"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert door.count() == 0


def test_a_vendor_trying_out_the_address_is_greeted_and_nothing_is_stored(door: Door) -> None:
    answer = with_source(door, Greeting("a ping")).hook("stripe", b"webhook_id=7", {})
    assert (answer.status_code, door.count()) == (200, 0)


class _Believed:
    """A source of which everything is believed and nothing follows."""

    platform = "twilio"

    def verify(self, delivery: Delivery, now: datetime) -> Verified:
        return Verified(delivery.query or "1", "sms")

    def read_event(self, topic: str, body: bytes) -> Reading:
        return Irrelevant("a test")


def test_the_address_is_given_whole_to_who_signs_it_and_who_reads_answers_is_told_nothing(door: Door) -> None:
    context = door.house.context
    platforms = replace(context.platforms, inbound={"twilio": _Believed()})
    believed = Door(replace(door.house, context=replace(context, platforms=platforms)))
    answer = believed.client.simulate_post("/hooks/twilio", query_string="op=RF-1.notify.1", body=b"Body=hi")
    assert (answer.status_code, answer.text) == (204, "")
    assert door.rows("SELECT source_event_id FROM events") == [{"source_event_id": "op=RF-1.notify.1"}]


def test_an_address_that_is_tried_out_with_head_is_there(door: Door) -> None:
    assert door.client.simulate_head("/hooks/stripe").status_code == 200
    assert door.client.simulate_head("/hooks/acme").status_code == 404


def test_metrics_are_given_in_prometheus_words(door: Door) -> None:
    answer = door.client.simulate_get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
