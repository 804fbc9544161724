"""Redis and PostgreSQL are wiped, stopped, stalled and restarted in the middle of work."""

from __future__ import annotations

import threading

import pytest

from tests.support.live import Live, plain, post

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


def test_redis_flushed_in_the_middle_of_work_loses_nothing(live: Live) -> None:
    orders = live.begin(*(plain(f"plain-{i}") for i in range(4)))
    live.fault("stripe", "create_refund", "latency", latency_s=0.5, times=2)
    live.ask_all(orders)
    live.until("a refund on its way", lambda: any(o.is_in("refund", "in_flight") for o in orders))
    with live.redis() as client:
        client.flushall()
    live.all_well(*orders)


def test_redis_killed_and_restarted_empty_loses_nothing(live: Live) -> None:
    orders = live.begin(*(plain(f"plain-{i}") for i in range(4)))
    live.ask_all(orders)
    live.until("a cancel done", lambda: any(o.is_in("cancel_order", "succeeded") for o in orders))
    live.stack.redis.restart(wipe=True)
    live.all_well(*orders, within_s=60)


def test_a_stalled_redis_does_not_keep_the_front_door_from_answering(live: Live) -> None:
    orders = live.begin(*(plain(f"plain-{i}") for i in range(3)))
    live.stack.redis.pause()
    try:
        answers = [
            post(live, "/v1/cancellations", {"order": o.number}, f"stalled-{o.number}", timeout_s=10)
            for o in orders
        ]
    finally:
        live.stack.redis.resume()
    assert [status for status, _, _ in answers] == [202, 202, 202]
    assert max(took_s for _, _, took_s in answers) < 1.5
    live.all_well(*orders)


def test_with_the_broker_down_requests_are_kept_and_carried_out_when_it_is_back(live: Live) -> None:
    orders = live.begin(*(plain(f"plain-{i}") for i in range(3)))
    with live.no_redis():
        answers = [post(live, "/v1/cancellations", {"order": o.number}, f"down-{o.number}") for o in orders]
        assert [status for status, _, _ in answers] == [202, 202, 202]
        assert max(took_s for _, _, took_s in answers) < 1.5
        assert live.rows("SELECT count(*) AS n FROM events WHERE state = 'new'") == [{"n": 3}]
    live.all_well(*orders, within_s=60)


def test_redis_wiped_while_a_chord_waits_for_its_last_step_completes_the_case(live: Live) -> None:
    """The body of a chord is in Redis alone; with its keys gone the sweep settles the case."""
    [order] = live.begin(plain())
    live.fault("stripe", "create_refund", "latency", latency_s=0.9)
    order.ask()
    live.until("the refund's call", lambda: not live.faults_waiting())
    with live.redis() as client:
        keys = [
            key for key in client.scan_iter() if b"celery-task" in key or b"chord" in key or b"taskset" in key
        ]
        assert keys
        client.delete(*keys)
    live.all_well(order)


@pytest.mark.parametrize(
    "seam",
    [
        "in_claim",
        pytest.param("before_call", marks=pytest.mark.campaign),
        "after_call",
        "in_record",
        pytest.param("after_record", marks=pytest.mark.campaign),
    ],
)
@pytest.mark.parametrize("action", ["refund", "cancel_order"])
def test_postgresql_restarted_at_a_seam_of_a_step_doubles_nothing(
    seamed: Live, action: str, seam: str
) -> None:
    [order] = seamed.begin(plain())
    seamed.arm(seam, action, "hold")
    order.ask()
    seamed.until("the seam", seamed.reached)
    seamed.stack.postgres.restart(is_immediate=True)
    seamed.go()
    seamed.all_well(order, within_s=60)
    vendor, operation = {"refund": ("stripe", "create_refund"), "cancel_order": ("shopify", "orderCancel")}[
        action
    ]
    assert len(seamed.calls(vendor, operation)) == 1


def test_with_the_database_down_the_front_door_asks_to_come_again_and_stores_nothing(live: Live) -> None:
    [order] = live.begin(plain())
    live.stack.postgres.stop(is_immediate=True)
    try:
        status, headers, took_s = post(live, "/v1/cancellations", {"order": order.number}, "database-down")
    finally:
        live.stack.postgres.start()
    assert (status, headers["retry-after"]) == (503, "10")
    assert took_s < 8
    live.until("the database", lambda: live.rows("SELECT 1 AS yes"))
    assert live.rows("SELECT count(*) AS n FROM events") == [{"n": 0}]
    assert live.calls("shopify", "orderCancel") == []
    assert order.ask("database-down")[0] == 202
    live.all_well(order, within_s=60)


def test_postgresql_restarted_under_load_loses_nothing(live: Live) -> None:
    orders = live.begin(*(plain(f"plain-{i}") for i in range(6)))
    asking = threading.Thread(target=live.ask_all, args=(orders,))
    asking.start()
    asking.join()
    live.until(
        "work on its way", lambda: live.rows("SELECT 1 AS yes FROM steps WHERE state = 'in_flight' LIMIT 1")
    )
    live.stack.postgres.restart(is_immediate=True)
    live.all_well(*orders, within_s=60)
