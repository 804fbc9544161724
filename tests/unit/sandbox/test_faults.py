"""Faults come when asked for, hit the calls they name and no others, and the book tells what happened all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from falcon import testing

from refundflow.sandbox.app import VENDORS, ConnectionCutError, create_app
from refundflow.sandbox.base import How, World

FORM = {"Authorization": "Bearer sk_test_practice", "Content-Type": "application/x-www-form-urlencoded"}
REFUNDS = "/stripe/v1/refunds"
# One path of each vendor, and what it answers to credentials that it does not know.
DOORS = [
    ("stripe", "/stripe/v1/refunds", FORM),
    ("shopify", "/shopify/admin/api/2026-10/graphql.json", {"X-Shopify-Access-Token": "shpat_practice"}),
]


class Pause:
    """Stands in for the event on which the world waits, so that a delay takes no time: notes it, then does something."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.waited_s: list[float] = []
        self._then = then

    def wait(self, seconds: float) -> bool:
        self.waited_s.append(seconds)
        self._then()
        return False

    def set(self) -> None:
        pass


@pytest.fixture
def world() -> Iterator[World]:
    world = World(VENDORS, send=lambda *_: 200)
    world.seed({"stripe": {"payment_intents": [{"id": "pi_1", "amount": 4250, "currency": "eur"}]}})
    yield world
    world.close()


@pytest.fixture
def client(world: World) -> testing.TestClient:
    return testing.TestClient(create_app(world))


def plan(client: testing.TestClient, **fault: Any) -> None:
    result = client.simulate_post("/_sandbox/faults", json={"vendor": "stripe", **fault})
    assert result.status_code == 201


def refund(client: testing.TestClient, amount: int = 1000, key: str | None = None) -> testing.Result:
    headers = FORM | ({"Idempotency-Key": key} if key else {})
    return client.simulate_post(REFUNDS, headers=headers, body=f"payment_intent=pi_1&amount={amount}")


def paid(world: World) -> list[int]:
    return [line["amount_minor"] for line in world.vendor("stripe").book.lines("refund")]


def test_a_lost_reply_pays_and_says_nothing(world: World, client: testing.TestClient) -> None:
    plan(client, kind="lost_reply", operation="create_refund")
    with pytest.raises(ConnectionCutError) as cut:
        refund(client, key="rf:1")

    assert (cut.value.how, cut.value.hold_s) == (How.RESET, 0.0)
    assert paid(world) == [1000]
    again = refund(client, key="rf:1")
    assert (again.status_code, again.headers["idempotent-replayed"], paid(world)) == (200, "true", [1000])


def test_a_hanging_reply_says_how_long_it_would_have_been_held(
    world: World, client: testing.TestClient
) -> None:
    plan(client, kind="lost_reply", how="hang", hold_s=12)
    with pytest.raises(ConnectionCutError) as cut:
        refund(client)
    assert (cut.value.how, cut.value.hold_s, paid(world)) == (How.HANG, 12, [1000])


def test_a_lost_request_pays_nothing(world: World, client: testing.TestClient) -> None:
    plan(client, kind="lost_request")
    with pytest.raises(ConnectionCutError):
        refund(client)
    assert paid(world) == []


def test_a_status_before_the_act_pays_nothing_and_one_after_it_lies(
    world: World, client: testing.TestClient
) -> None:
    plan(client, kind="status", status=503, headers={"Retry-After": "7"}, body={"busy": True})
    before = refund(client)
    assert (before.status_code, before.headers["retry-after"], before.json, paid(world)) == (
        503,
        "7",
        {"busy": True},
        [],
    )

    plan(client, kind="status", status=500, is_after_effect=True)
    assert (refund(client).status_code, paid(world)) == (500, [1000])


def test_a_page_from_in_front_hides_an_answer_that_the_key_still_gives(
    world: World, client: testing.TestClient
) -> None:
    plan(client, kind="html", status=502, is_after_effect=True)
    page = refund(client, key="rf:1")
    again = refund(client, key="rf:1")

    assert (page.status_code, page.headers["content-type"], page.text[:6]) == (502, "text/html", "<html>")
    assert (again.status_code, again.json["status"], paid(world)) == (200, "succeeded", [1000])


def test_a_503_from_in_front_after_the_act_leaves_the_true_answer_under_the_key(
    world: World, client: testing.TestClient
) -> None:
    plan(client, kind="status", status=503, is_after_effect=True)
    answers = [refund(client, key="rf:1") for _ in range(2)]
    assert ([each.status_code for each in answers], paid(world)) == ([503, 200], [1000])


def test_a_refusal_is_the_vendors_own(world: World, client: testing.TestClient) -> None:
    plan(client, kind="refuse", operation="create_refund")
    plan(client, kind="refuse", operation="create_refund", code="charge_not_refundable")
    answers = [refund(client) for _ in range(2)]

    assert [(x.status_code, x.json["error"]["code"]) for x in answers] == [
        (400, "charge_disputed"),
        (400, "charge_not_refundable"),
    ]
    assert paid(world) == []


@pytest.mark.parametrize(("vendor", "path", "headers"), DOORS)
def test_refused_credentials_are_a_401_in_the_vendors_shape(
    client: testing.TestClient, vendor: str, path: str, headers: dict[str, str]
) -> None:
    client.simulate_post("/_sandbox/faults", json={"vendor": vendor, "kind": "refuse_auth"})
    answer = client.simulate_post(path, headers=headers)
    assert answer.status_code == 401
    assert list(answer.json) == ["error" if vendor == "stripe" else "errors"]


def test_latency_delays_any_kind_and_holds_no_lock(world: World, client: testing.TestClient) -> None:
    answers: list[testing.Result] = []
    pause = Pause(lambda: answers.append(refund(client, 11, key="rf:1")))
    world.stopping = pause  # type: ignore[assignment]  # a stand-in that takes no time
    plan(client, kind="latency", latency_s=3)
    first = refund(client, 11, key="rf:1")

    assert pause.waited_s == [3]
    assert [(x.status_code, x.json["error"]["code"]) for x in answers] == [(409, "idempotency_key_in_use")]
    assert (first.status_code, paid(world)) == (200, [11])
    assert refund(client, 11, key="rf:1").headers["idempotent-replayed"] == "true"


def test_a_second_use_of_a_shopify_key_meets_the_first_still_running(
    world: World, client: testing.TestClient
) -> None:
    world.seed(
        {
            "shopify": {
                "orders": [
                    {
                        "id": 1,
                        "currency": "EUR",
                        "lines": [{"quantity": 1, "unit_minor": 500}],
                        "transactions": [{"id": 7, "amount": 500}],
                    }
                ]
            }
        }
    )
    entry = 'orderId: "gid://shopify/Order/1"'
    query = (
        f'mutation {{ refundCreate(input: {{ {entry}, transactions: [{{ {entry}, amount: "5.00", kind: REFUND, '
        'gateway: "shopify_payments", parentId: "gid://shopify/OrderTransaction/7" }] }) @idempotent(key: "k") '
        "{ refund { id } userErrors { message } } }"
    )

    def send() -> Any:
        return client.simulate_post(
            "/shopify/admin/api/2026-10/graphql.json",
            headers={"X-Shopify-Access-Token": "shpat_practice"},
            json={"query": query},
        ).json["data"]["refundCreate"]

    inner: list[Any] = []
    world.stopping = Pause(lambda: inner.append(send()))  # type: ignore[assignment]  # a stand-in that takes no time
    client.simulate_post(
        "/_sandbox/faults",
        json={"vendor": "shopify", "operation": "refundCreate", "kind": "latency", "latency_s": 1},
    )
    outer = send()

    assert [each["userErrors"] for each in inner] == [[{"message": "IDEMPOTENCY_CONCURRENT_REQUEST"}]]
    assert outer["userErrors"] == []
    assert [x["amount_minor"] for x in world.vendor("shopify").book.lines("refund")] == [500]
    assert send() == outer


def test_a_fault_skips_matches_and_runs_out(world: World, client: testing.TestClient) -> None:
    plan(client, kind="status", status=500, operation="create_refund", match="amount=2", skip=1, times=2)
    statuses = [refund(client, amount).status_code for amount in (1, 2, 2, 1, 2, 2)]

    assert statuses == [200, 200, 500, 200, 500, 200]
    assert paid(world) == [1, 2, 1, 2]
    assert client.simulate_get("/_sandbox/faults").json == []


def test_faults_of_one_vendor_or_operation_do_not_touch_others(client: testing.TestClient) -> None:
    plan(client, kind="status", operation="list_refunds")
    client.simulate_post("/_sandbox/faults", json={"vendor": "shopify", "kind": "status"})
    assert refund(client).status_code == 200
    assert client.simulate_get(REFUNDS, headers=FORM).status_code == 500
    assert len(client.simulate_get("/_sandbox/faults").json) == 1
    client.simulate_delete("/_sandbox/faults")
    assert client.simulate_get("/_sandbox/faults").json == []


@pytest.mark.parametrize(
    ("_case", "fault", "status"),
    [
        ("an unknown kind", {"kind": "earthquake"}, 400),
        ("no kind", {"vendor": "stripe"}, 400),
        ("an unknown field", {"kind": "status", "retries": 2}, 400),
        ("a text for a number", {"kind": "status", "times": "2"}, 400),
        ("an unknown vendor", {"kind": "status", "vendor": "acme"}, 404),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_all_sent_beside_it(
    client: testing.TestClient, _case: str, fault: dict[str, Any], status: int
) -> None:
    answer = client.simulate_post("/_sandbox/faults", json=[{"kind": "status"}, fault])
    assert (answer.status_code, list(answer.json)) == (status, ["problem"])
    assert client.simulate_get("/_sandbox/faults").json == []


def test_every_call_is_listed_and_counted_also_those_without_an_answer(client: testing.TestClient) -> None:
    plan(client, kind="lost_reply")
    with pytest.raises(ConnectionCutError):
        refund(client)
    refund(client)
    client.simulate_get(REFUNDS, headers=FORM)
    seen = client.simulate_get("/_sandbox/calls", params={"vendor": "stripe"}).json

    assert [(x["operation"], x["method"], x["path"], x["status"], x["fault"]) for x in seen["calls"]] == [
        ("create_refund", "POST", "/v1/refunds", 0, "lost_reply"),
        ("create_refund", "POST", "/v1/refunds", 200, None),
        ("list_refunds", "GET", "/v1/refunds", 200, None),
    ]
    assert seen["counts"] == [
        {"vendor": "stripe", "operation": "create_refund", "status": 0, "count": 1},
        {"vendor": "stripe", "operation": "create_refund", "status": 200, "count": 1},
        {"vendor": "stripe", "operation": "list_refunds", "status": 200, "count": 1},
    ]
    assert (
        len(client.simulate_get("/_sandbox/calls", params={"operation": "list_refunds"}).json["calls"]) == 1
    )


def test_the_book_is_read_whole_by_vendor_and_by_effect(client: testing.TestClient) -> None:
    refund(client)
    assert sorted(client.simulate_get("/_sandbox/book").json) == sorted(each.name for each in VENDORS)
    assert [x["amount_minor"] for x in client.simulate_get("/_sandbox/book/stripe").json] == [1000]
    assert client.simulate_get("/_sandbox/book/stripe", params={"effect": "void"}).json == []
    assert client.simulate_get("/_sandbox/book/acme").status_code == 404


def test_the_vendors_time_runs_ahead_until_a_reset(client: testing.TestClient, world: World) -> None:
    before = client.simulate_put("/_sandbox/clock", json={"ahead_s": 0}).json["now"]
    ahead = client.simulate_put("/_sandbox/clock", json={"ahead_s": 86_400}).json["now"]
    assert 86_400 <= (datetime.fromisoformat(ahead) - datetime.fromisoformat(before)).total_seconds() < 86_430
    assert client.simulate_put("/_sandbox/clock", json={"ahead_s": -1}).status_code == 400
    client.simulate_post("/_sandbox/reset")
    assert world.ahead == timedelta(0)


def test_a_reset_forgets_one_vendor_or_all(client: testing.TestClient) -> None:
    plan(client, kind="status")
    client.simulate_post("/_sandbox/reset", json={"vendor": "shopify"})
    assert len(client.simulate_get("/_sandbox/faults").json) == 1
    client.simulate_post("/_sandbox/reset")
    assert client.simulate_get("/_sandbox/faults").json == []
    assert refund(client).json["error"]["code"] == "resource_missing"
    assert client.simulate_get("/_sandbox/book/stripe").json == []


@pytest.mark.parametrize(
    ("_case", "path", "body", "status"),
    [
        ("seed an unknown vendor", "seed", {"acme": {}}, 404),
        ("seed without an amount", "seed", {"stripe": {"payment_intents": [{}]}}, 400),
        (
            "settle an unknown refund",
            "settle",
            {"vendor": "stripe", "refund": "re_1", "status": "failed"},
            404,
        ),
        ("settle nothing known", "settle", {"vendor": "stripe", "colour": "red"}, 400),
        ("settle nobody", "settle", {}, 400),
        ("a list for an object", "settle", [], 400),
        (
            "a webhook about nothing",
            "webhooks",
            {
                "vendor": "stripe",
                "url": "u",
                "secret": "s",
                "events": [{"topic": "refund.created", "object": "re_1"}],
            },
            404,
        ),
        (
            "an unknown order",
            "webhooks",
            {"vendor": "stripe", "url": "u", "secret": "s", "order": "odd"},
            400,
        ),
    ],
)
def test_mistakes_at_the_controls_are_explained(
    client: testing.TestClient, _case: str, path: str, body: Any, status: int
) -> None:
    answer = client.simulate_post(f"/_sandbox/{path}", json=body)
    assert (answer.status_code, list(answer.json)) == (status, ["problem"])


def test_a_subscription_with_unknown_settings_changes_nothing(client: testing.TestClient) -> None:
    good = {"url": "http://shop.example", "secret": "s"}
    answer = client.simulate_put(
        "/_sandbox/subscriptions", json={"stripe": good, "shopify": good | {"colour": "red"}}
    )
    assert answer.status_code == 400
    refund(client)
    assert client.simulate_get("/_sandbox/deliveries").json == []
    client.simulate_put("/_sandbox/subscriptions", json={"stripe": good})
    refund(client)


def test_pairs_of_events_can_be_delivered_in_the_wrong_order(
    world: World, client: testing.TestClient
) -> None:
    described = {"url": "http://shop.example", "secret": "s", "is_reordered": True}
    client.simulate_put("/_sandbox/subscriptions", json={"stripe": described})
    refund(client)
    world.webhooks.wait_idle()
    topics = [each["topic"] for each in client.simulate_get("/_sandbox/deliveries").json]
    assert topics == ["charge.refunded", "refund.created"]


def test_a_webhook_that_is_never_taken_is_given_up_after_the_retries() -> None:
    deaf = World(VENDORS, send=lambda *_: 0)
    deaf.seed({"stripe": {"payment_intents": [{"id": "pi_1", "amount": 4250, "currency": "eur"}]}})
    client = testing.TestClient(create_app(deaf))
    described = {
        "url": "http://shop.example",
        "secret": "s",
        "retry_waits_s": [0, 0],
        "topics": ["refund.created"],
    }
    client.simulate_put("/_sandbox/subscriptions", json={"stripe": described})
    refund(client)
    deaf.webhooks.wait_idle()
    deaf.close()
    assert [(x["topic"], x["status"]) for x in client.simulate_get("/_sandbox/deliveries").json] == [
        ("refund.created", 0)
    ] * 3
