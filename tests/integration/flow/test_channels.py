"""Sales channels: Etsy, where only a person can act, and Amazon, where nothing keeps a repeat from paying twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from refundflow.domain.inbound import Verified
from refundflow.domain.plan import Routing
from refundflow.domain.states import CaseState, StepState
from refundflow.flow.context import Context
from refundflow.flow.poll import poll
from refundflow.store import polls
from refundflow.wiring import build
from tests.support.drive import drive
from tests.support.practice import SECRETS, Shop, share_time

pytestmark = pytest.mark.integration

DAY_S: Final = 86_400.0


def selling(shop: Shop, channel: str) -> None:
    """A shop that sells there, and polls."""
    share_time(shop)
    house = build(shop.house.settings)
    platforms = replace(shop.context.platforms, pollers=house.platforms.pollers)
    house.db.close()
    routing = Routing(order_platform=channel, payers=((channel, channel),), stock_owner="")
    shop.context = replace(shop.context, routing=routing, platforms=platforms)


def look(shop: Shop, platform: str, times: int = 4) -> list[str]:
    """Polls as the task does, on until nothing more is told, `times` times; returns what became of the new events."""
    context: Context = shop.context
    context.db.run(lambda connection: polls.begin(connection, [platform], now=context.now()))
    outcomes = []
    for _ in range(times):
        looked = poll(context, platform)
        assert looked.problem == "", looked
        while True:
            for event_id in looked.new:
                received = shop.receive(event_id)
                outcomes.append(received.outcome)
                drive(context, received.wave, within_s=60)
            if not looked.has_more:
                break
            looked = poll(context, platform)
        shop.clock.jump(1800)
    return outcomes


def story(shop: Shop, case_id: str) -> str:
    return "\n".join(
        f"{s.step_key} {s.action} {s.platform} {s.state.value} {s.amount} {s.code} {s.reason}"
        for s in shop.steps(case_id).values()
    )


# ------------------------------------------------------------------------------------------------ Etsy


def a_receipt(shop: Shop, **more: Any) -> str:
    line = {"sku": "RED-60", "title": "Acrylic red", "quantity": 2, "unit_minor": 1500}
    made = shop.vendors.control("POST", "seed", {"etsy": {"receipts": [{"lines": [line], **more}]}})
    return str(made["etsy"]["receipts"][0]["id"])


def etsy_webhook(shop: Shop, receipt: str) -> str:
    """`order.canceled`, signed, verified and handled."""
    before = len(shop.vendors.deliveries("etsy"))
    url = f"{shop.vendors.listener_url}/etsy"
    events = [{"topic": "order.canceled", "object": receipt}]
    shop.vendors.control(
        "POST", "webhooks", {"vendor": "etsy", "url": url, "secret": SECRETS["etsy"], "events": events}
    )
    (delivery,) = shop.vendors.deliveries("etsy")[before:]
    verified = shop.context.platforms.inbound["etsy"].verify(delivery, shop.context.now())
    assert isinstance(verified, Verified), verified
    event_id = shop.insert("etsy", verified.source_event_id, verified.topic, delivery.body, True)
    received = shop.receive(event_id)
    drive(shop.context, received.wave, within_s=60)
    return received.outcome


@pytest.mark.parametrize("way", ["webhook", "polling"])
def test_an_etsy_order_is_one_task_that_ends_by_itself(shop: Shop, way: str) -> None:
    selling(shop, "etsy")
    receipt = a_receipt(shop)
    asked = shop.receive(shop.ask(receipt, platform="etsy"))
    drive(shop.context, asked.wave, within_s=60)
    (task,) = [s for s in shop.steps(asked.case_id).values() if s.action == "human_task"]
    text = task.command.text  # type: ignore[union-attr] # a task's command
    assert "Cancel in etsy" in text
    assert "30.00" in text
    assert "give nothing back by another way" in text
    assert shop.case(asked.case_id).state is CaseState.ATTENTION
    shop.settle("etsy", receipt=receipt, cancel=True)
    outcomes = [etsy_webhook(shop, receipt)] if way == "webhook" else look(shop, "etsy")
    look(shop, "etsy")  # whatever comes afterwards by the other way is known
    case = shop.case(asked.case_id)
    assert case.state is CaseState.COMPLETE, (outcomes, story(shop, asked.case_id))
    assert shop.step(asked.case_id, "human_task.1").state is StepState.SUCCEEDED
    assert [c["state"] for c in shop.all_cases()] == ["complete"]
    assert [minor for minor, _ in shop.money("etsy")] == [3000]
    assert shop.money("stripe") == []


def test_a_cancel_without_its_refund_leaves_the_task_open_until_the_money_shows(shop: Shop) -> None:
    selling(shop, "etsy")
    receipt = a_receipt(shop)
    asked = shop.receive(shop.ask(receipt, platform="etsy"))
    drive(shop.context, asked.wave, within_s=60)
    shop.settle("etsy", receipt=receipt, cancel=True, refund=None)
    look(shop, "etsy", times=1)
    assert shop.step(asked.case_id, "human_task.1").state is StepState.DEAD_LETTERED, "the money is not back"
    shop.settle("etsy", receipt=receipt, refund={})
    for _ in range(3):
        look(shop, "etsy", times=2)
        drive(shop.context, None, within_s=6 * 3600)
    assert shop.case(asked.case_id).state is CaseState.COMPLETE, story(shop, asked.case_id)
    assert [minor for minor, _ in shop.money("etsy")] == [3000]


def test_an_order_that_was_cancelled_at_etsy_is_one_case_by_both_ways_and_pays_nothing(shop: Shop) -> None:
    selling(shop, "etsy")
    receipt = a_receipt(shop)
    shop.settle("etsy", receipt=receipt, cancel=True)
    etsy_webhook(shop, receipt)
    look(shop, "etsy")
    (case,) = shop.all_cases()
    assert case["state"] == "nothing_to_do"
    assert [minor for minor, _ in shop.money("etsy")] == [3000], "what Etsy gave back itself"


def test_etsy_is_polled_from_where_it_was_left_over_a_missed_day(shop: Shop) -> None:
    selling(shop, "etsy")
    first = a_receipt(shop)
    look(shop, "etsy", times=1)
    shop.settle("etsy", receipt=first, cancel=True)
    shop.clock.jump(1.5 * DAY_S)
    look(shop, "etsy")
    assert [c["order_number"] for c in shop.all_cases()] == [first]


# ------------------------------------------------------------------------------------------------ Amazon


def an_order(shop: Shop, **more: Any) -> str:
    item = {"sku": "RED-60", "quantity": 2, "unit_price": "15.00"}
    described = {"orders": [{"items": [item], **more}], "habits": {"lists_lag_s": 0, "long_poll_most_s": 0}}
    made = shop.vendors.control("POST", "seed", {"amazon": described})
    return str(made["amazon"]["orders"][0]["id"])


def test_a_buyers_wish_is_carried_out_by_one_feed(shop: Shop) -> None:
    selling(shop, "amazon")
    order = an_order(shop)
    shop.settle("amazon", order=order, event="buyer_request", reason="changed my mind")
    outcomes = look(shop, "amazon")
    drive(shop.context, None, within_s=DAY_S)
    look(shop, "amazon")
    (case,) = shop.all_cases()
    assert case["state"] == "complete", (outcomes, story(shop, case["case_id"]))
    assert [line["by"] for line in shop.book("amazon", "cancel_order")] == ["MERCHANT"]
    assert shop.money("amazon") == [], "what was not shipped was not charged"


TROUBLE: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "the answer is lost": {"kind": "lost_reply", "how": "reset"},
    "the request is lost": {"kind": "lost_request", "how": "reset"},
    "429": {"kind": "status", "status": 429},
    "a server error after the act": {"kind": "status", "status": 500, "is_after_effect": True},
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_amazon_never_pays_twice_whatever_happens_to_the_feed(shop: Shop, trouble: str) -> None:
    selling(shop, "amazon")
    order = an_order(shop)
    shop.settle("amazon", order=order, event="ship")
    if TROUBLE[trouble]:
        shop.fault("amazon", "create_feed", **TROUBLE[trouble])
    asked = shop.receive(shop.ask(order, platform="amazon"))
    drive(shop.context, asked.wave, within_s=60)
    # A return waits for the person who sees the goods.
    if shop.case(asked.case_id).state is CaseState.HELD:
        from refundflow.flow import people

        _, wave = people.approve(shop.context, asked.case_id, operator="grace", reason="the goods are back")
        drive(shop.context, wave, within_s=60)
    for _ in range(8):
        drive(shop.context, None, within_s=DAY_S / 2)
        shop.settle("amazon", finances="post")
    assert [minor for minor, _ in shop.money("amazon")] == [3000], story(shop, asked.case_id)
    (refund,) = [s for s in shop.steps(asked.case_id).values() if s.action == "refund"]
    assert refund.state in (StepState.SUCCEEDED, StepState.UNKNOWN, StepState.DEAD_LETTERED)
