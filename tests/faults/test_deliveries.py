"""The same thing said many times, in the wrong order, from two sides at once, or to many workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from celery import Celery

from tests.support.live import Live, plain

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]


def test_one_webhook_delivered_twenty_times_at_once_is_one_event_and_one_cancellation(live: Live) -> None:
    [order] = live.begin(plain())
    live.stack.control("PUT", "subscriptions", {"shopify": None})
    live.stack.control("POST", "settle", {"vendor": "shopify", "order": order.id, "staff_cancel": "CUSTOMER"})
    gate = Barrier(4)

    def deliver(_: int) -> list[int]:
        gate.wait()
        answer = live.stack.webhook("shopify", "orders/cancelled", order.id, copies=5)
        return [each["status"] for each in answer["sent"]]

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for answers in pool.map(deliver, range(4)) for status in answers]
    assert statuses == [200] * 20
    live.until_quiet()
    live.agree()
    assert order.case()["state"] == "complete"
    assert order.refunds() == [(1780, "EUR", order.step("refund")["step_key"])]
    assert len(live.rows("SELECT 1 FROM case_sources WHERE how = 'opened'")) == 1


def test_one_request_repeated_by_twenty_threads_is_one_case(live: Live) -> None:
    [order] = live.begin(plain())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: order.ask("the-same-key"), range(20)))
    assert {status for status, _ in answers} == {202}
    assert len({answer["event_id"] for _, answer in answers}) == 1
    live.all_well(order)


def test_events_of_a_refund_in_the_wrong_order_change_nothing(live: Live) -> None:
    [order] = live.begin(plain())
    live.stack.control("PUT", "subscriptions", {"stripe": None, "shopify": None})
    order.ask()
    live.all_well(order)
    [line] = live.book("stripe", "refund")
    sent = live.stack.control(
        "POST",
        "webhooks",
        {
            "vendor": "stripe",
            "url": f"{live.stack.api_url}/hooks/stripe",
            "secret": "whsec_practice",
            "events": [
                {"topic": topic, "object": line["id"]} for topic in ("refund.created", "refund.updated")
            ],
            "copies": 5,
            "order": "reversed",
        },
    )
    assert [each["status"] for each in sent["sent"]] == [200] * 10
    live.all_well(order)


def test_an_order_told_of_by_the_shop_and_by_shopify_at_one_moment_is_one_case(live: Live) -> None:
    [order] = live.begin(plain())
    gate = Barrier(2)

    def by_shop() -> None:
        gate.wait()
        assert order.ask()[0] == 202

    def by_shopify() -> None:
        gate.wait()
        live.stack.control(
            "POST", "settle", {"vendor": "shopify", "order": order.id, "staff_cancel": "CUSTOMER"}
        )

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(by_shop), pool.submit(by_shopify)]:
            done.result()
    live.until(
        "both events", lambda: len(live.rows("SELECT 1 FROM events WHERE source IN ('api', 'shopify')")) >= 2
    )
    live.until_quiet()
    live.agree()
    case = order.case()
    assert case["state"] == "complete"
    assert order.refunds() == [(1780, "EUR", order.step("refund")["step_key"])]
    assert {r["source"] for r in live.rows("SELECT source FROM case_sources")} >= {"api", "shopify"}


@pytest.mark.parametrize(
    ("action", "task", "queue", "vendor", "operation"),
    [
        ("refund", "refundflow.refund", "money", "stripe", "create_refund"),
        ("cancel_order", "refundflow.cancel_order", "orders", "shopify", "orderCancel"),
    ],
)
def test_one_step_sent_to_the_workers_twenty_times_acts_once(
    live: Live, action: str, task: str, queue: str, vendor: str, operation: str
) -> None:
    [order] = live.begin(plain())
    live.fault(vendor, operation, "latency", latency_s=0.7)
    order.ask()
    live.until("the call's arrival", lambda: not live.faults_waiting())
    with Celery(broker=live.stack.redis.url, set_as_current=False) as sender:
        for _ in range(20):
            sender.send_task(task, args=[order.step(action)["step_key"]], queue=queue)
    live.all_well(order)
    assert len(live.calls(vendor, operation)) == 1


def test_every_task_of_a_finished_case_run_again_does_nothing(live: Live) -> None:
    [order] = live.begin(plain())
    order.ask()
    live.all_well(order)
    made = sum(live.rows("SELECT count(*) AS n FROM attempts")[0].values())
    queues = {"refund": "money", "post_ledger": "ledger", "notify": "notify"}
    sent = live.rows("SELECT step_key, kind FROM steps")
    with Celery(broker=live.stack.redis.url, set_as_current=False) as sender:
        for step in sent * 3:
            sender.send_task(
                f"refundflow.{step['kind']}",
                args=[step["step_key"]],
                queue=queues.get(step["kind"], "orders"),
            )
        sender.send_task("refundflow.settle", args=[order.case()["case_id"]], queue="orders")
    live.until(
        "every task run",
        lambda: (
            live.rows("SELECT count(*) AS n FROM task_runs WHERE outcome LIKE 'left alone%'")[0]["n"]
            >= 3 * len(sent)
        ),
    )
    live.all_well(order)
    assert live.rows("SELECT count(*) AS n FROM attempts") == [{"n": made}]
