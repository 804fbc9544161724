"""Slack's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.slack import APPROVE, DECLINE, Credentials, Slack, SlackWebhook, build
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import Delivery, OperatorWord, Reading, Refused, Verified
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.flow.compose import Composer, MessageContext
from refundflow.sandbox import slack as double
from refundflow.sandbox.base import Fault, How, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "slack"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
HOOK = "https://rf.example/hooks/slack"
SIGNING_SECRET = "practice-signing-secret"
ABSENT = NotFound(60.0, "no message in the channel's history carries our reference")


class Shop:
    """A practice Slack, its book, and the connector on it. `posts`: the clicks that it sent, as the front door would have them."""

    def __init__(self) -> None:
        self.now = NOW
        self.posts: queue.Queue[Delivery] = queue.Queue()
        self.world = World([double.Slack], clock=lambda: self.now, send=self.take)
        self.credentials = Credentials(
            Secret(double.TOKEN),
            double.CHANNEL,
            base_url=f"{VENDORS}/{NAME}/api/",
            signing_secret=Secret(SIGNING_SECRET),
        )
        self.slack = self.built()

    def built(self, **changes: Any) -> Slack:
        connector = build(replace(self.credentials, **changes), WorldWire(self.world))
        assert isinstance(connector, Slack)
        return connector

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.posts.put(Delivery({name.lower(): value for name, value in headers.items()}, body))
        return 200

    def seed(self, **data: Any) -> None:
        self.world.seed({NAME: data})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, operation: str = "post_message", kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def book(self, effect: str | None = None) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def shown(self) -> list[Record]:
        """The messages in the channel."""
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.Slack)
        return vendor.messages.get(double.CHANNEL, [])

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def read(self) -> Reading:
        """What the next click says, verified first."""
        delivery = self.posts.get(timeout=5)
        verified = self.credentials.inbound.verify(delivery, self.now)
        assert isinstance(verified, Verified), verified
        return self.credentials.inbound.read_event(verified.topic, delivery.body)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def report(number: int = 1, state: str = "held", updates: str = "") -> SendMessage:
    """The case's report, as it is really written."""
    step_key = mint_step_key(CASE, "notify", number)
    words = MessageContext(
        case_id=CASE, order_number="<!channel> #1042", shop_name="A Shop", case_state=state
    )
    told = Composer().compose("case_report", "slack", words)
    return SendMessage(
        step_key=step_key,
        key=wire_key(step_key, 1),
        to="",
        template="case_report",
        subject="",
        text=told.text,
        blocks=told.blocks,
        updates=updates,
    )


def done(outcome: object) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


def buttons(message: Record) -> list[str]:
    return [e["action_id"] for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]]


# ---------------------------------------------------------------- one message, changed as the case moves


def test_a_report_is_posted_once_with_buttons_and_our_reference(shop: Shop) -> None:
    outcome = done(shop.slack.send_message(report()))
    (line,) = shop.book()
    assert outcome == Done(f"{double.CHANNEL}:{line['id']}")
    assert line["reference"] == {"case": CASE, "op": report().step_key}
    assert "&lt;!channel&gt;" in line["text"]
    assert buttons(shop.shown[0]) == [APPROVE, DECLINE]
    assert shop.asked == ["post_message"]


def test_the_next_report_changes_the_message_and_takes_the_buttons_away(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    second = report(2, "complete", first.reference)
    assert shop.slack.send_message(second) == first
    assert shop.slack.find_send_message(second) == first
    (message,) = shop.shown
    assert buttons(message) == []
    assert message["metadata"]["event_payload"]["op"] == second.step_key
    assert [line["effect"] for line in shop.book()] == ["post_message", "update_message"]


def test_an_update_that_comes_twice_shows_the_same(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    outcomes = {shop.slack.send_message(report(2, "complete", first.reference)) for _ in range(2)}
    assert outcomes == {first}
    assert len(shop.shown) == 1


def test_a_report_that_a_later_one_replaced_is_not_posted_after_it(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    shop.slack.send_message(report(3, "complete", first.reference))
    assert shop.slack.find_send_message(report(2, "held", first.reference)) == AlreadyDone(
        first.reference, "a later report of the case took its place"
    )
    assert len(shop.shown) == 1


def test_a_deleted_message_is_followed_by_a_new_one(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    shop.settle(delete=first.reference.partition(":")[2])
    second = report(2, "complete", first.reference)
    assert shop.slack.find_send_message(second) == ABSENT
    posted = done(shop.slack.send_message(second))
    assert posted != first
    assert shop.slack.find_send_message(second) == posted
    assert [line["effect"] for line in shop.book()] == ["post_message", "post_message"]
    assert shop.slack.send_message(report(3, "complete", posted.reference)) == posted


def test_a_message_that_is_too_old_to_be_changed_is_followed_by_a_new_one(shop: Shop) -> None:
    shop.seed(habits={"edit_window_s": 3_600})
    first = done(shop.slack.send_message(report()))
    shop.now += timedelta(hours=2)
    assert done(shop.slack.send_message(report(2, "complete", first.reference))) != first
    assert len(shop.shown) == 2


def test_an_update_whose_reply_is_lost_is_found_in_the_message(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    second = report(2, "complete", first.reference)
    assert shop.slack.find_send_message(second) == ABSENT
    shop.fault("update_message")
    with pytest.raises(MaybeSentError):
        shop.slack.send_message(second)
    assert shop.slack.find_send_message(second) == first
    assert len(shop.shown) == 1


@pytest.mark.parametrize("status", [500, 502])
def test_an_error_after_the_update_is_unknown_and_nothing_is_posted(shop: Shop, status: int) -> None:
    first = done(shop.slack.send_message(report()))
    shop.fault("update_message", Kind.STATUS, status=status, is_after_effect=True)
    second = report(2, "complete", first.reference)
    assert isinstance(shop.slack.send_message(second), Unknown)
    assert shop.slack.find_send_message(second) == first
    assert len(shop.shown) == 1


def test_a_refused_update_of_another_kind_posts_nothing(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    shop.fault("update_message", Kind.REFUSE, code="msg_too_long")
    outcome = shop.slack.send_message(report(2, "complete", first.reference))
    assert outcome == Permanent("msg_too_long", "the message is too long")
    assert len(shop.book()) == 1


# ---------------------------------------------------------------- answers that are lost, and lies


def test_a_lost_reply_is_looked_up_and_not_sent_again(shop: Shop) -> None:
    shop.fault()
    with pytest.raises(MaybeSentError):
        shop.slack.send_message(report())
    (line,) = shop.book()
    assert shop.slack.find_send_message(report()) == Done(f"{double.CHANNEL}:{line['id']}")


def test_a_lost_request_left_nothing_and_may_go_again(shop: Shop) -> None:
    shop.fault(kind=Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.slack.send_message(report())
    assert shop.slack.find_send_message(report()) == ABSENT
    done(shop.slack.send_message(report()))
    assert len(shop.book()) == 1


@pytest.mark.parametrize("is_after_effect", [True, False])
@pytest.mark.parametrize("status", [200, 502])
def test_a_page_of_html_is_no_answer(shop: Shop, status: int, is_after_effect: bool) -> None:
    shop.fault(kind=Kind.HTML, status=status, is_after_effect=is_after_effect)
    assert isinstance(shop.slack.send_message(report()), Unknown)
    assert isinstance(shop.slack.find_send_message(report()), Done) is is_after_effect
    assert len(shop.book()) == int(is_after_effect)


def test_an_error_after_the_post_is_unknown_and_the_post_is_found(shop: Shop) -> None:
    shop.fault(kind=Kind.STATUS, status=500, is_after_effect=True)
    assert isinstance(shop.slack.send_message(report()), Unknown)
    assert isinstance(shop.slack.find_send_message(report()), Done)
    assert len(shop.book()) == 1


@pytest.mark.parametrize("operation", ["post_message", "update_message"])
def test_too_many_calls_did_nothing_and_come_again(shop: Shop, operation: str) -> None:
    updates = done(shop.slack.send_message(report())).reference if operation == "update_message" else ""
    before = len(shop.book())
    shop.fault(operation, Kind.STATUS, status=429)
    assert shop.slack.send_message(report(2, updates=updates)) == Retryable(
        "throttled", "Slack asks us to slow down", 30.0
    )
    assert len(shop.book()) == before
    done(shop.slack.send_message(report(2, updates=updates)))
    assert len(shop.book()) == before + 1


def test_bad_credentials_are_the_houses_fault(shop: Shop) -> None:
    stranger = shop.built(bot_token=Secret("xoxb-wrong"))
    for updates in ("", f"{double.CHANNEL}:1795608000.000000"):
        outcome = stranger.send_message(report(updates=updates))
        assert isinstance(outcome, Retryable)
        assert outcome.code == "unauthorised"
    assert isinstance(stranger.find_send_message(report()), Unknown)
    assert not stranger.check().is_ok
    assert shop.slack.check().is_ok
    assert shop.book() == []


def test_a_webhook_posts_every_report_anew(shop: Shop) -> None:
    credentials = Credentials(
        webhook_url=Secret(f"{VENDORS}/{NAME}{double.WEBHOOK_PATH}"), signing_secret=Secret(SIGNING_SECRET)
    )
    hook = build(credentials, WorldWire(shop.world))
    assert isinstance(hook, SlackWebhook)
    first = done(hook.send_message(report()))
    hook.send_message(report(2, "complete", first.reference))
    assert [buttons(message) for message in shop.shown] == [[APPROVE, DECLINE], []]


# ---------------------------------------------------------------- clicks


@pytest.mark.parametrize(("action_id", "is_approved"), [(APPROVE, True), (DECLINE, False)])
@pytest.mark.parametrize("is_updated", [False, True])
def test_a_click_is_the_word_of_whoever_pressed(
    shop: Shop, action_id: str, is_approved: bool, is_updated: bool
) -> None:
    shop.seed(people=[{"id": "U024BE7LH", "username": "grace"}])
    shop.world.webhooks.subscribe(NAME, Subscription(HOOK, SIGNING_SECRET))
    channel_and_ts = done(shop.slack.send_message(report())).reference
    if is_updated:
        shop.slack.send_message(report(2, "held", channel_and_ts))
    shop.settle(click=action_id, ts=channel_and_ts.partition(":")[2], user="U024BE7LH")
    assert shop.read() == OperatorWord("slack", CASE, is_approved, "U024BE7LH")


def test_a_click_that_comes_twice_is_one_event_and_a_second_click_another(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription(HOOK, SIGNING_SECRET, copies=2))
    ts = done(shop.slack.send_message(report())).reference.partition(":")[2]
    for _ in range(2):
        shop.settle(click=APPROVE, ts=ts)
    verified = [
        shop.credentials.inbound.verify(shop.posts.get(timeout=5), shop.now) for _ in range(4)
    ]  # fmt: skip
    ids = [each.source_event_id for each in verified if isinstance(each, Verified)]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert len(set(ids)) == 2


def test_a_click_that_another_app_signed_is_refused(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription(HOOK, "another-secret"))
    ts = done(shop.slack.send_message(report())).reference.partition(":")[2]
    shop.settle(click=APPROVE, ts=ts)
    assert shop.credentials.inbound.verify(shop.posts.get(timeout=5), NOW) == Refused(
        "the signature does not match"
    )


def test_after_the_decision_there_is_nothing_to_press(shop: Shop) -> None:
    first = done(shop.slack.send_message(report()))
    shop.slack.send_message(report(2, "declined", first.reference))
    with pytest.raises(NoSuchObjectError, match="no message"):
        shop.settle(click=APPROVE, ts=first.reference.partition(":")[2])


def test_without_a_signing_secret_no_button_is_shown(shop: Shop) -> None:
    done(shop.built(signing_secret=Secret("")).send_message(report()))
    assert buttons(shop.shown[0]) == []
