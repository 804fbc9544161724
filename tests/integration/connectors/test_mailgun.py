"""Mailgun's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.mailgun import Credentials, Mailgun, build
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MailReceived,
    MessageSeen,
    MessageStatus,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import mailgun as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "mailgun"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
HOOK = "https://rf.example/hooks/mailgun"
SIGNING_KEY = "practice-signing-key"
ADA = "ada@example.com"
ABSENT = NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)


class Shop:
    """A practice Mailgun, its book, and the connector on it. `posts`: what it posted, as the front door would have it."""

    def __init__(self) -> None:
        self.now = NOW
        self.posts: queue.Queue[Delivery] = queue.Queue()
        self.world = World([double.Mailgun], clock=lambda: self.now, send=self.take)
        self.credentials = Credentials(
            double.DOMAIN,
            Secret(double.API_KEY),
            f"A Shop <orders@{double.DOMAIN}>",
            base_url=f"{VENDORS}/{NAME}",
            webhook_signing_key=Secret(SIGNING_KEY),
        )
        self.mailgun = self.built()

    def built(self, **changes: Any) -> Mailgun:
        return build(replace(self.credentials, **changes), WorldWire(self.world))

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.posts.put(Delivery({name.lower(): value for name, value in headers.items()}, body))
        return 200

    def seed(self, **data: Any) -> None:
        self.world.seed({NAME: data})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def subscribe(self, **more: Any) -> None:
        self.world.webhooks.subscribe(NAME, Subscription(HOOK, SIGNING_KEY, **more))

    def fault(self, operation: str = "send_message", kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def book(self, effect: str = "send_message") -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    def read(self, count: int = 1) -> list[Reading]:
        """What the next deliveries say, each verified first."""
        readings = []
        for _ in range(count):
            delivery = self.posts.get(timeout=5)
            verified = self.credentials.inbound.verify(delivery, self.now)
            assert isinstance(verified, Verified), verified
            readings.append(self.credentials.inbound.read_event(verified.topic, delivery.body))
        return readings

    def mail(self, **changes: Any) -> MailReceived:
        """What is read of a mail that somebody writes."""
        self.subscribe()
        written = {
            "recipient": "cancel@in.practice.example",
            "from": "Ada Lovelace <Ada@Example.com>",
            "subject": "Please cancel order 1042",
            "body-plain": "I changed my mind.",
            **changes,
        }
        self.settle(inbound=written)
        (reading,) = self.read()
        assert isinstance(reading, MailReceived)
        return reading


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def notice(number: int = 1, attempt: int = 1, to: str = ADA) -> SendMessage:
    step_key = mint_step_key(CASE, "notify", number)
    return SendMessage(
        step_key=step_key,
        key=wire_key(step_key, attempt),
        to=to,
        template="order_cancelled",
        subject="Your order #1042 is cancelled",
        text="Your order #1042 is cancelled.",
        html="<p>Your order #1042 is cancelled.</p>",
    )


def done(outcome: object) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


# ---------------------------------------------------------------- the effect, and answers that are lost


def test_a_message_is_sent_once_with_our_reference(shop: Shop) -> None:
    outcome = done(shop.mailgun.send_message(notice()))
    (line,) = shop.book()
    assert (outcome.reference, line["rf_op"], line["recipient"]) == (line["id"], notice().step_key, ADA)
    assert shop.mailgun.find_send_message(notice()) == Done(line["id"], "accepted")


@pytest.mark.parametrize("keeps_message_id", [True, False])
def test_a_lost_reply_is_looked_up_and_not_sent_again(shop: Shop, keeps_message_id: bool) -> None:
    shop.seed(habits={"keeps_message_id": keeps_message_id})
    shop.fault()
    with pytest.raises(MaybeSentError):
        shop.mailgun.send_message(notice())
    (line,) = shop.book()
    assert shop.mailgun.find_send_message(notice()) == Done(line["id"], "accepted")


def test_a_lost_request_left_nothing_and_may_go_again(shop: Shop) -> None:
    shop.fault(kind=Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.mailgun.send_message(notice())
    assert shop.mailgun.find_send_message(notice()) == ABSENT
    done(shop.mailgun.send_message(notice()))
    assert len(shop.book()) == 1


def test_events_that_show_late_are_found_within_the_time_that_absence_needs_to_prove_anything(
    shop: Shop,
) -> None:
    shop.seed(habits={"events_delay_s": 240})
    done(shop.mailgun.send_message(notice()))
    assert shop.mailgun.find_send_message(notice()) == ABSENT
    shop.now += timedelta(seconds=ABSENT.conclusive_after_s or 0)
    assert isinstance(shop.mailgun.find_send_message(notice()), Done)


@pytest.mark.parametrize("status", [500, 502])
def test_an_error_after_the_effect_is_unknown_and_the_effect_is_found(shop: Shop, status: int) -> None:
    shop.fault(kind=Kind.STATUS, status=status, is_after_effect=True)
    assert isinstance(shop.mailgun.send_message(notice()), Unknown)
    assert isinstance(shop.mailgun.find_send_message(notice()), Done)
    assert len(shop.book()) == 1


@pytest.mark.parametrize("is_after_effect", [True, False])
@pytest.mark.parametrize("status", [200, 502])
def test_a_page_of_html_is_no_answer(shop: Shop, status: int, is_after_effect: bool) -> None:
    shop.fault(kind=Kind.HTML, status=status, is_after_effect=is_after_effect)
    assert isinstance(shop.mailgun.send_message(notice()), Unknown)
    assert isinstance(shop.mailgun.find_send_message(notice()), Done) is is_after_effect
    assert len(shop.book()) == int(is_after_effect)


def test_too_many_calls_did_nothing_and_come_again(shop: Shop) -> None:
    shop.fault(kind=Kind.STATUS, status=429)
    assert shop.mailgun.send_message(notice()) == Retryable("throttled", "Mailgun asks us to slow down")
    done(shop.mailgun.send_message(notice()))
    assert len(shop.book()) == 1


def test_a_refusal_is_told_and_nothing_is_sent(shop: Shop) -> None:
    shop.fault(kind=Kind.REFUSE)
    outcome = shop.mailgun.send_message(notice())
    assert isinstance(outcome, Permanent)
    assert (outcome.code, shop.book()) == ("invalid_message", [])


def test_bad_credentials_are_the_houses_fault_and_a_sending_key_cannot_look(shop: Shop) -> None:
    outcome = shop.built(api_key=Secret("wrong")).send_message(notice())
    assert isinstance(outcome, Retryable)
    assert (outcome.code, shop.book()) == ("unauthorised", [])
    sending = shop.built(api_key=Secret(double.SENDING_KEY))
    done(sending.send_message(notice()))
    assert isinstance(sending.find_send_message(notice()), Unknown)
    assert not sending.check().is_ok
    assert shop.mailgun.check().is_ok


# ---------------------------------------------------------------- what became of it


@pytest.mark.parametrize("kind", ["bounces", "complaints", "unsubscribes"])
def test_a_suppressed_address_is_told_by_the_look_and_by_the_webhook(shop: Shop, kind: str) -> None:
    shop.seed(suppressions=[{"list": kind, "address": ADA}])
    shop.subscribe()
    done(shop.mailgun.send_message(notice()))
    assert shop.book() == []
    assert len(shop.book("drop_message")) == 1
    found = shop.mailgun.find_send_message(notice())
    assert isinstance(found, Permanent)
    assert found.code == "suppressed"
    assert f"the domain's list of {kind}" in found.reason
    accepted, dropped = shop.read(2)
    assert isinstance(accepted, Irrelevant)
    assert dropped == MessageSeen(NAME, notice().step_key, MessageStatus.BOUNCED, found.reason)


def test_a_bounce_is_told_and_the_next_message_under_a_new_key_is_not_mistaken_for_it(shop: Shop) -> None:
    shop.seed(bouncing=[ADA])
    done(shop.mailgun.send_message(notice()))
    found = shop.mailgun.find_send_message(notice())
    assert isinstance(found, Permanent)
    assert found.code == "bounced"
    assert shop.mailgun.find_send_message(notice(attempt=2)) == ABSENT
    done(shop.mailgun.send_message(notice(attempt=2)))
    again = shop.mailgun.find_send_message(notice(attempt=2))
    assert isinstance(again, Permanent)
    assert again.code == "suppressed"


def test_a_message_is_followed_from_its_delivery_to_its_late_failure(shop: Shop) -> None:
    shop.subscribe()
    shop.fault(kind=Kind.LATE_FAILURE)
    message = done(shop.mailgun.send_message(notice())).reference
    shop.world.settle(NAME, {})
    for name in ("complained", "unsubscribed", "opened"):
        shop.settle(message=message, event=name)
    shop.settle(message=message, event="failed", severity="temporary")
    told = [each.status if isinstance(each, MessageSeen) else None for each in shop.read(7)]
    assert told == [
        None,
        MessageStatus.DELIVERED,
        MessageStatus.BOUNCED,
        MessageStatus.COMPLAINED,
        MessageStatus.OPTED_OUT,
        None,
        None,
    ]


@pytest.mark.parametrize(("is_anew", "events"), [(False, 1), (True, 2)])
def test_a_delivery_that_comes_again_is_one_event_where_it_is_not_signed_anew(
    shop: Shop, is_anew: bool, events: int
) -> None:
    shop.seed(habits={"signs_retries_anew": is_anew})
    shop.subscribe(copies=2, topics=("delivered",))
    done(shop.mailgun.send_message(notice()))
    verified = [shop.credentials.inbound.verify(shop.posts.get(timeout=5), NOW) for _ in range(2)]
    ids = {each.source_event_id for each in verified if isinstance(each, Verified)}
    assert len(ids) == events


def test_what_is_signed_with_another_key_is_refused(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription(HOOK, "another-key", topics=("delivered",)))
    done(shop.mailgun.send_message(notice()))
    assert shop.credentials.inbound.verify(shop.posts.get(timeout=5), NOW) == Refused(
        "the signature does not match"
    )


# ---------------------------------------------------------------- mail that somebody wrote

FILES = [
    {"name": "receipt.pdf", "type": "application/pdf", "content": "%PDF-1.7\r\n--\r\n"},
    {"name": "mail.eml", "type": "message/rfc822", "content": "From: mallory@evil.example\r\n\r\nx"},
]


@pytest.mark.parametrize("files", [[], FILES])
def test_a_mail_is_read_with_and_without_files(shop: Shop, files: list[Record]) -> None:
    read = shop.mail(spf="Pass", files=files, **{"Message-Id": "<1@example.com>"})
    assert read == MailReceived(
        message_id="1@example.com",
        sender=ADA,
        subject="Please cancel order 1042",
        text="I changed my mind.",
        sender_name="Ada Lovelace",
        is_authenticated=True,
    )


@pytest.mark.parametrize(
    ("_case", "changes", "is_authenticated"),
    [
        ("nothing passed", {}, False),
        ("SPF of the envelope's own domain", {"spf": "Pass", "sender": "x@mallory.example"}, False),
        ("SPF by the sender's own word", {"headers": [["X-Mailgun-Spf", "Pass"]]}, False),
        ("DKIM of the From domain", {"dkim": "Pass", "headers": [["DKIM-Signature", "d=example.com; b=x"]]}, True),
        ("DKIM of another domain", {"dkim": "Pass", "headers": [["DKIM-Signature", "d=mallory.example; b=x"]]}, False),
        ("a second From", {"spf": "Pass", "headers": [["From", "bob@example.com"]]}, False),
    ],
)  # fmt: skip
def test_a_sender_is_proven_by_his_own_domain_only(
    shop: Shop, _case: str, changes: dict[str, Any], is_authenticated: bool
) -> None:
    assert shop.mail(**changes).is_authenticated is is_authenticated


def test_what_a_customer_wrote_above_a_quotation_is_what_counts(shop: Shop) -> None:
    whole = "No, please keep it.\r\n\r\n> Your order 1042 is cancelled."
    read = shop.mail(**{"body-plain": whole, "stripped-text": "No, please keep it."})
    assert read.text == "No, please keep it."


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("out of office", {"headers": [["Auto-Submitted", "auto-replied"]]}),
        ("a bounce", {"sender": ""}),
        ("our own, come back", {"from": f"A Shop <orders@{double.DOMAIN}>"}),
    ],
)
def test_machines_and_our_own_mail_ask_for_nothing(shop: Shop, _case: str, changes: dict[str, Any]) -> None:
    assert shop.mail(**changes).is_automatic
