"""Everybody sees the truth in the tool that they already use: each once, with the real connectors and the practice vendors' books."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from refundflow.connectors.slack import APPROVE
from refundflow.connectors.trello import TrelloInbound
from refundflow.demo.places import PlacedLine, PlacedOrder, PlacedPayment
from refundflow.domain.inbound import Verified
from refundflow.domain.plan import Routing
from refundflow.domain.states import CaseState, StepState
from refundflow.flow import replay
from refundflow.sandbox import slack, trello
from refundflow.sandbox.google_sheets import SPREADSHEET_ID
from tests.support.drive import drive
from tests.support.practice import SECRETS, Shop

pytestmark = pytest.mark.integration

DAY_S = 86_400.0
PHONE = "+491701234567"
LOGS = ("trello", "notion", "google-sheets")
#: What each log calls the making of a record, and a change of it.
RECORDS = {
    "trello": ("create_card", "update_card"),
    "notion": ("create_page", "update_page"),
    "google-sheets": ("add_row", "update_row"),
}


def telling(shop: Shop, **changes: Any) -> PlacedOrder:
    """An order of a shop that tells everybody: the customer by mail and text, agents, staff, and three logs."""
    order = PlacedOrder(
        "woocommerce",
        7001,
        (PlacedLine("RED-60", "Acrylic red", 2, 1500),),
        (PlacedPayment("stripe", 3000),),
        phone=PHONE,
    )
    shop.place(order)
    sheet = {"title": "Log", "rows": []}
    shop.vendors.control(
        "POST", "seed", {"google-sheets": {"spreadsheets": [{"id": SPREADSHEET_ID, "sheets": [sheet]}]}}
    )
    routing = Routing(
        order_platform="woocommerce",
        payers=(("stripe", "stripe"),),
        stock_owner="woocommerce",
        customer_channel="sendgrid",
        sms_channel="twilio",
        staff_channel="slack",
        staff_to="C0PRACTICE",
        desk="zendesk",
        logs=LOGS,
    )
    shop.context = replace(shop.context, routing=replace(routing, **changes))
    return order


def cancel(shop: Shop, order: PlacedOrder, **body: Any) -> str:
    got = shop.receive(shop.ask(order.number, platform="woocommerce", **body))
    drive(shop.context, got.wave, within_s=DAY_S / 4)
    return got.case_id


def written(shop: Shop, tool: str, effect: str) -> list[Any]:
    """The book's lines of an effect; the head of a table that was blank is no record."""
    return [line for line in shop.book(tool, effect) if line["id"] != "Log!A1:K1"]


def story(shop: Shop, case_id: str) -> str:
    return "\n".join(
        f"{s.step_key} {s.action} {s.platform} {s.state.value} {s.code} {s.reason}"
        for s in shop.steps(case_id).values()
    )


def test_everybody_is_told_once_and_sees_the_same(shop: Shop) -> None:
    order = telling(shop)
    case_id = cancel(shop, order)
    assert shop.case(case_id).state is CaseState.COMPLETE, story(shop, case_id)
    mails = [line["subject"] for line in shop.book("sendgrid", "send_message")]
    assert len(mails) == 3, mails
    texts = [line["body"] for line in shop.book("twilio", "send_message")]
    assert [text.split(" Ref ")[0] for text in texts] == [
        f"the shop: your order {order.number} is cancelled. A refund is being arranged.",
        f"the shop: we sent back 30.00 EUR for order {order.number}. It can take 10 business days to arrive.",
    ]
    (ticket,) = shop.book("zendesk", "create_ticket")
    assert ticket["public"] is False, "the agents' report is theirs"
    for log, (make, _) in RECORDS.items():
        assert len(written(shop, log, make)) == 1, log
    assert shop.book("trello", "update_card")[-1]["changed"], "the card has moved on"
    assert len(shop.book("slack")) == 1


def test_a_case_that_a_person_mends_is_shown_mended_everywhere_and_nothing_is_doubled(shop: Shop) -> None:
    order = telling(shop, customer_channel="", sms_channel="")
    shop.fault("stripe", "create_refund", "refuse", times=20)
    case_id = cancel(shop, order)
    assert shop.case(case_id).state is CaseState.ATTENTION, story(shop, case_id)
    (dead,) = [s for s in shop.steps(case_id).values() if s.action == "refund"]
    shop.vendors.control("DELETE", "faults")
    plan = replay.preview(shop.context, [dead])
    (wave,) = replay.execute(shop.context, plan, operator="grace", reason="the card is good again")
    drive(shop.context, wave, within_s=DAY_S / 4)
    assert shop.case(case_id).state is CaseState.COMPLETE, story(shop, case_id)
    for log, (make, change) in RECORDS.items():
        assert len(written(shop, log, make)) == 1, log
        assert len(shop.book(log, change)) >= 1, log
    assert len(shop.book("zendesk", "create_ticket")) == 1
    shown = shop.book("trello", "update_card")[-1]
    assert shown["target"] or shown["changed"]


@pytest.mark.parametrize("tool", ["sendgrid", "twilio", "zendesk", "freshdesk", *LOGS])
@pytest.mark.parametrize(
    "how",
    [
        "lost_reply",
        pytest.param("lost_request", marks=pytest.mark.campaign),
        pytest.param("status", marks=pytest.mark.campaign),
        "refuse_auth",
    ],
)
def test_a_tool_in_trouble_holds_nothing_up_and_tells_once_in_the_end(
    shop: Shop, tool: str, how: str
) -> None:
    order = telling(shop, **({"desk": "freshdesk"} if tool == "freshdesk" else {}))
    # A token that could not be had is not asked for again for a while, by the real clock: its call is let pass.
    fault: dict[str, Any] = {"times": 1, "skip": 1} if tool == "google-sheets" else {"times": 2}
    if how == "status":
        fault |= {"status": 503}
    elif how.startswith("lost"):
        fault |= {"how": "reset"}
    shop.fault(tool, "*", how, **fault)
    case_id = cancel(shop, order)
    drive(shop.context, None, within_s=DAY_S)
    assert shop.money("stripe") == [(3000, "EUR")], "the refund waits for nobody's board"
    steps = shop.steps(case_id).values()
    refund = next(s for s in steps if s.action == "refund")
    assert refund.state is StepState.SUCCEEDED
    told = [s for s in steps if s.platform == tool]
    assert told
    assert all(s.state is StepState.SUCCEEDED for s in told), story(shop, case_id)
    made = {
        "sendgrid": ("send_message", 3),
        "twilio": ("send_message", 2),
        "zendesk": ("create_ticket", 1),
        "freshdesk": ("create_ticket", 1),
        "trello": ("create_card", 1),
        "notion": ("create_page", 1),
        "google-sheets": ("add_row", 1),
    }
    effect, count = made[tool]
    assert len(written(shop, tool, effect)) == count, story(shop, case_id)


def test_a_desk_that_tells_the_customer_comments_publicly_on_the_ticket_that_asked(shop: Shop) -> None:
    order = telling(shop, customer_channel="zendesk", sms_channel="", staff_channel="", logs=())
    case_id = cancel(shop, order)
    assert shop.case(case_id).state is CaseState.COMPLETE, story(shop, case_id)
    (ticket,) = shop.book("zendesk", "create_ticket")
    comments = [ticket, *shop.book("zendesk", "add_comment")]
    assert [c["public"] for c in comments].count(True) == 3, comments
    assert [c["public"] for c in comments].count(False) == 1, comments


def clicked(shop: Shop, vendor: str) -> str:
    """The newest delivery of a tool, verified as the front door does and handled; what became of it."""
    delivery = shop.vendors.delivery(vendor)
    verified = shop.context.platforms.inbound[vendor].verify(delivery, shop.context.now())
    assert isinstance(verified, Verified), verified
    event_id = shop.insert(vendor, verified.source_event_id, verified.topic, delivery.body, True)
    received = shop.receive(event_id)
    drive(shop.context, received.wave, within_s=DAY_S / 4)
    return received.outcome


def held_at(shop: Shop, order: PlacedOrder) -> str:
    got = shop.receive(shop.ask(order.number, platform="woocommerce", is_verified=False))
    drive(shop.context, got.wave, within_s=60)
    assert shop.case(got.case_id).state is CaseState.HELD
    return got.case_id


def test_a_held_case_is_approved_by_a_button_in_slack_and_the_buttons_go(shop: Shop) -> None:
    order = telling(shop, customer_channel="", sms_channel="", desk="", logs=())
    shop.context = replace(shop.context, members={f"slack:{slack.PERSON}": "grace"})
    url = f"{shop.vendors.listener_url}/slack"
    shop.vendors.control("PUT", "subscriptions", {"slack": {"url": url, "secret": SECRETS["slack"]}})
    case_id = held_at(shop, order)
    (asked,) = shop.book("slack", "post_message")
    shop.settle("slack", click=APPROVE, ts=asked["id"].rpartition(":")[2])
    assert clicked(shop, "slack") == "echo"
    assert shop.case(case_id).state is CaseState.COMPLETE, story(shop, case_id)
    (approval,) = shop.rows("SELECT operator, verdict FROM approvals")
    assert approval == {"operator": "grace", "verdict": "approve"}
    assert shop.money("stripe") == [(3000, "EUR")]
    assert len(shop.book("slack", "post_message")) == 1, "one message a case"
    assert len(shop.book("slack", "update_message")) == 1, "which has moved on with it"


@pytest.mark.parametrize(("place", "state"), [("Approved", "complete"), ("Rejected", "declined")])
def test_a_held_case_is_decided_by_a_drag_on_the_board(shop: Shop, place: str, state: str) -> None:
    order = telling(shop, customer_channel="", sms_channel="", staff_channel="", desk="", logs=("trello",))
    shop.context = replace(shop.context, members={f"trello:{trello.PERSON}": "grace"})
    inbound = shop.context.platforms.inbound["trello"]
    assert isinstance(inbound, TrelloInbound)
    url = f"{shop.vendors.listener_url}/trello"
    signed = {**shop.context.platforms.inbound, "trello": replace(inbound, callback_url=url)}
    shop.context = replace(shop.context, platforms=replace(shop.context.platforms, inbound=signed))
    case_id = held_at(shop, order)
    (card,) = shop.book("trello", "create_card")
    shop.vendors.control(
        "PUT",
        "subscriptions",
        {"trello": {"url": url, "secret": SECRETS["trello"], "topics": ["updateCard"]}},
    )
    shop.settle("trello", card=card["id"], idList=trello.LISTS[place], member=trello.PERSON)
    assert clicked(shop, "trello") == "echo"
    assert shop.case(case_id).state.value == state, story(shop, case_id)
    assert shop.money("stripe") == ([(3000, "EUR")] if place == "Approved" else [])
    assert len(shop.book("trello", "create_card")) == 1
