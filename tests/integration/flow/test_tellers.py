"""What reaches the shop's own people and the customer in other ways than one mail: carriers' words, e-mail requests, decisions made
in a tool. The sources are stand-ins that say what a connector would have read; everything behind them is real.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

import pytest

from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    MailReceived,
    MessageSeen,
    MessagesSeen,
    MessageStatus,
    OperatorWord,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.mail import MailRules
from refundflow.domain.states import CaseState, StepState
from refundflow.flow.receive import Received
from refundflow.transport.links import make_link
from tests.support.drive import drive
from tests.support.practice import Shop, cancelled, received, refunded

pytestmark = pytest.mark.integration

DAY_S = 86_400.0
ORDER_EMAIL = "ada@customers.example"
UNPROVEN = "no source of this request could be verified"


@dataclass
class Told:
    """A source whose deliveries say what the test wants them to."""

    platform: ClassVar[str] = "mailgun"
    readings: dict[str, Reading] = field(default_factory=dict)

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused | Greeting:
        return Verified("unused", "told")

    def read_event(self, topic: str, body: bytes) -> Reading:
        return self.readings[body.decode()]


def hearing(shop: Shop, reading: Reading, name: str = "1", source: str = "mailgun") -> Received:
    """One event of a source, handled, and driven on for a while."""
    told = shop.context.platforms.inbound.get(source)
    if not isinstance(told, Told):
        told = Told()
        inbound = {**shop.context.platforms.inbound, source: told}
        shop.context = replace(shop.context, platforms=replace(shop.context.platforms, inbound=inbound))
    told.readings[name] = reading
    got = shop.receive(shop.insert(source, f"told-{name}", "told", name.encode(), True))
    drive(shop.context, got.wave, within_s=60)
    return got


def tasks(shop: Shop, case_id: str) -> list[str]:
    return [s.command.text for s in shop.steps(case_id).values() if s.action == "human_task"]  # type: ignore[union-attr] # a task's command


# ------------------------------------------------------------------------------------------------ carriers


@pytest.mark.parametrize("status", [s for s in MessageStatus if s is not MessageStatus.DELIVERED])
def test_a_customer_who_was_not_reached_is_a_persons_task_once(shop: Shop, status: MessageStatus) -> None:
    shop.order()
    case = shop.cancel()
    assert case.state is CaseState.COMPLETE
    mail = next(s for s in shop.steps(case.case_id).values() if s.action == "send_message")
    for name in ("1", "2"):  # a carrier tells a failure in more than one word
        got = hearing(shop, MessageSeen("mailgun", mail.step_key, status, "no such mailbox"), name)
        assert (got.outcome, got.case_id) == ("echo", case.case_id)
    assert shop.case(case.case_id).state is CaseState.ATTENTION
    (text,) = tasks(shop, case.case_id)
    assert mail.step_key in text
    assert "no such mailbox" in text


def test_a_message_that_arrived_is_noted_and_changes_nothing(shop: Shop) -> None:
    shop.order()
    case = shop.cancel()
    sent = [s.step_key for s in shop.steps(case.case_id).values() if s.action == "send_message"]
    arrived = tuple(MessageSeen("mailgun", key, MessageStatus.DELIVERED) for key in sent)
    hearing(shop, MessagesSeen(arrived))
    noted = shop.rows("SELECT step_key FROM audit WHERE event = 'message.delivered'")
    assert sorted(r["step_key"] for r in noted) == sorted(sent)
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert tasks(shop, case.case_id) == []


def test_a_word_about_somebody_elses_message_is_ignored(shop: Shop) -> None:
    got = hearing(shop, MessageSeen("mailgun", "RF-000000000000000.notify.1", MessageStatus.BOUNCED))
    assert got.outcome == "ignored: about no message of ours"


# ------------------------------------------------------------------------------------------------ e-mail


def a_mail(sender: str = "ada@example.org", subject: str = "Please cancel order #1001") -> MailReceived:
    return MailReceived("<m1@example.org>", sender, subject, "I ordered too much.", is_authenticated=True)


def with_portal(shop: Shop, **rules: str) -> None:
    def link(platform: str, number: str, now: datetime) -> str:
        return make_link("https://shop.example", b"key", platform, number, int(now.timestamp()) + 3600)

    shop.context = replace(shop.context, portal_link=link, mail_rules=MailRules(**rules))


def test_a_mail_never_moves_money_and_its_writer_is_sent_the_link_once(shop: Shop) -> None:
    with_portal(shop)
    shop.order()
    first = hearing(shop, a_mail(ORDER_EMAIL))
    second = hearing(shop, a_mail(ORDER_EMAIL), "2")
    assert first.case_id == second.case_id
    case = shop.case(first.case_id)
    assert (case.state, case.why) == (CaseState.HELD, UNPROVEN)
    assert shop.money("stripe") == []
    assert shop.book("shopify") == []
    assert shop.mails() == ["Please confirm: cancel order #1001?"]
    # The page behind the link is a source that proves who asks: the case goes on by itself.
    confirmed = shop.receive(shop.ask())
    drive(shop.context, confirmed.wave, within_s=DAY_S)
    assert confirmed.case_id == case.case_id
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.mails()[1:] == [received(), cancelled(), refunded()]


@pytest.mark.parametrize("_case", ["another address", "no portal", "told not to"])
def test_where_a_link_would_prove_nothing_a_person_confirms(shop: Shop, _case: str) -> None:
    if _case != "no portal":
        with_portal(shop, **({"reply": "none"} if _case == "told not to" else {}))
    shop.order()
    got = hearing(shop, a_mail("eve@example.org" if _case == "another address" else ORDER_EMAIL))
    assert shop.case(got.case_id).state is CaseState.HELD
    assert shop.mails() == []


def test_a_mail_that_names_no_order_is_a_case_that_a_person_sees(shop: Shop) -> None:
    got = hearing(shop, a_mail(subject="Please cancel"))
    case = shop.case(got.case_id)
    assert case.state is CaseState.ATTENTION
    assert case.why == "mailgun: it asks for a cancellation and names no order"
    again = hearing(shop, a_mail(subject="Please cancel"), "2")
    assert again.case_id != got.case_id, "two mails without an order are two cases"


def test_a_mail_about_an_order_that_is_not_there_is_a_case_that_a_person_sees(shop: Shop) -> None:
    got = hearing(shop, a_mail(subject="Please cancel order 4711"))
    assert shop.case(got.case_id).state is CaseState.ATTENTION


def test_an_answer_to_our_own_mail_is_laid_to_its_case(shop: Shop) -> None:
    shop.order()
    case = shop.cancel()
    got = hearing(shop, a_mail(subject=f"Re: cancelled [{case.case_id}]"))
    assert (got.outcome, got.case_id) == ("echo", case.case_id)
    assert [c["state"] for c in shop.all_cases()] == ["complete"]


# ------------------------------------------------------------------------------------------------ decisions made in a tool


def a_held_case(shop: Shop) -> str:
    shop.order()
    asked = shop.receive(shop.ask(is_verified=False, requested_by="ada"))
    drive(shop.context, asked.wave, within_s=60)
    assert shop.case(asked.case_id).state is CaseState.HELD
    return asked.case_id


def as_members(shop: Shop) -> None:
    shop.context = replace(shop.context, members={"slack:U1": "grace", "slack:U2": "ada"})


def test_a_button_approves_as_the_mapped_operator(shop: Shop) -> None:
    as_members(shop)
    case_id = a_held_case(shop)
    got = hearing(shop, OperatorWord("slack", case_id, True, "U1"))
    drive(shop.context, None, within_s=DAY_S)
    assert got.case_id == case_id
    assert shop.case(case_id).state is CaseState.COMPLETE
    assert len(shop.money("stripe")) == 1
    (approval,) = shop.rows("SELECT operator, verdict FROM approvals")
    assert approval == {"operator": "grace", "verdict": "approve"}
    again = hearing(shop, OperatorWord("slack", case_id, True, "U1"), "2")
    assert again.outcome == "ignored: grace: the case is complete, nothing waits for approval"
    assert len(shop.money("stripe")) == 1


def test_a_button_declines(shop: Shop) -> None:
    as_members(shop)
    case_id = a_held_case(shop)
    hearing(shop, OperatorWord("slack", case_id, False, "U1", "the customer called"))
    assert shop.case(case_id).state is CaseState.DECLINED
    assert shop.money("stripe") == []


def test_whoever_asked_cannot_approve_and_a_stranger_neither(shop: Shop) -> None:
    as_members(shop)
    case_id = a_held_case(shop)
    own = hearing(shop, OperatorWord("slack", case_id, True, "U2"))
    assert own.outcome == (
        "ignored: ada: you asked for this cancellation yourself: somebody else must decide it"
    )
    stranger = hearing(shop, OperatorWord("slack", case_id, True, "U9"), "2")
    assert stranger.outcome == (
        "ignored: member U9 of slack is no operator: see [people] members in the settings"
    )
    assert shop.case(case_id).state is CaseState.HELD
    assert shop.money("stripe") == []


def test_a_shop_that_does_not_answer_makes_the_decision_wait(shop: Shop) -> None:
    as_members(shop)
    case_id = a_held_case(shop)
    shop.fault("shopify", "*", "status", status=503, times=1)
    got = hearing(shop, OperatorWord("slack", case_id, True, "U1"))
    assert got.outcome.startswith("waits for ")
    drive(shop.context, None, within_s=DAY_S)
    assert shop.case(case_id).state is CaseState.COMPLETE
    assert [s.state for s in shop.steps(case_id).values() if s.action == "refund"] == [StepState.SUCCEEDED]
