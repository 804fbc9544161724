"""Twilio's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from refundflow.connectors.twilio import Credentials, Twilio, TwilioInbound, build, reference_of
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MessageSeen,
    MessageStatus,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import twilio as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "twilio"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
HOOK = "https://rf.example/hooks/twilio"
ADA = "+12025550170"
BOB = "+4915100000000"
TEXT = "A Shop: your order #1042 is cancelled. A refund is being arranged."


class Shop:
    """A practice Twilio, its book, and the connector on it. `posts`: what it called back, as the front door would have it."""

    def __init__(self) -> None:
        self.now = NOW
        self.posts: queue.Queue[Delivery] = queue.Queue()
        self.world = World([double.Twilio], clock=lambda: self.now, send=self.take)
        self.credentials = Credentials(
            double.ACCOUNT_SID,
            auth_token=Secret(double.AUTH_TOKEN),
            api_key=double.API_KEY,
            api_secret=Secret(double.API_SECRET),
            messaging_service_sid=double.SERVICE,
            webhook_url=HOOK,
            base_url=f"{VENDORS}/{NAME}",
        )
        self.twilio = self.built()
        self.inbound = TwilioInbound(
            self.credentials.auth_token,
            self.credentials.webhook_url,
            self.credentials.status_callback_url,
        )

    def built(self, **changes: Any) -> Twilio:
        return build(replace(self.credentials, **changes), WorldWire(self.world))

    def take(self, url: str, headers: Any, body: bytes) -> int:
        named = {name.lower(): value for name, value in headers.items()}
        self.posts.put(Delivery(named, body, urlsplit(url).query))
        return 200

    def seed(self, **data: Any) -> Record:
        made: Record = self.world.seed({NAME: data})[NAME]
        return made

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, operation: str = "send_message", kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def book(self, effect: str = "send_message") -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def read(self, count: int) -> list[Reading]:
        """What the next deliveries say, each verified first."""
        readings = []
        for _ in range(count):
            delivery = self.posts.get(timeout=5)
            verified = self.inbound.verify(delivery, self.now)
            assert isinstance(verified, Verified), verified
            readings.append(self.inbound.read_event(verified.topic, delivery.body))
        return readings


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def notice(number: int = 1, attempt: int = 1, **changes: Any) -> SendMessage:
    step_key = mint_step_key(CASE, "notify", number)
    given = {"to": ADA, "template": "order_cancelled", "subject": "", "text": TEXT, **changes}
    return SendMessage(step_key=step_key, key=wire_key(step_key, attempt), **given)


def done(outcome: object) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


# ---------------------------------------------------------------- the effect


@pytest.mark.parametrize(
    ("_case", "changes", "first"),
    [
        ("from a service", {}, "accepted"),
        ("from a number", {"messaging_service_sid": "", "sender": double.SOLO}, "queued"),
        ("with the account's token", {"api_key": "", "api_secret": Secret("")}, "accepted"),
    ],
)
def test_a_text_is_sent_once_with_our_reference_and_our_step(
    shop: Shop, _case: str, changes: dict[str, Any], first: str
) -> None:
    command = notice()
    outcome = done(shop.built(**changes).send_message(command))
    (line,) = shop.book()
    assert outcome == Done(line["id"], f"{first}; 1 segment (GSM-7)")
    assert (line["to"], line["body"]) == (ADA, f"{TEXT} Ref {CASE}-1")
    assert line["reference"] == command.step_key
    assert line["status_callback"] == f"{HOOK}?op={command.step_key}"
    assert shop.asked == ["send_message"]


def test_the_account_is_checked_with_the_key_that_sends(shop: Shop) -> None:
    assert shop.twilio.check().is_ok
    assert shop.asked == ["list_messages"]
    assert not shop.built(api_secret=Secret("wrong")).check().is_ok
    assert not shop.built(account_sid="AC" + "0" * 32).check().is_ok


@pytest.mark.parametrize(
    ("_case", "text"),
    [
        ("plain", TEXT),
        ("typographic", "“It’s” cancelled – 42,50\u00a0€…"),
        ("another alphabet", "Заказ №1042 отменён. Возврат 42,50 € оформляется, это может занять 10 дней."),
        ("emoji", "🙂" * 50),
        ("long", "Kettle {blue} [x] " * 15),
    ],
)
def test_segments_are_the_ones_that_are_billed(shop: Shop, _case: str, text: str) -> None:
    outcome = done(shop.twilio.send_message(notice(text=text)))
    (line,) = shop.book()
    count = line["segments"]
    assert f" {count} segment{'' if count == 1 else 's'} (" in outcome.detail
    assert done(shop.twilio.find_send_message(notice())).detail.endswith(outcome.detail.partition("; ")[2])


# ---------------------------------------------------------------- answers that are lost, and lies


def test_a_lost_reply_is_looked_up_and_not_sent_again(shop: Shop) -> None:
    shop.fault()
    with pytest.raises(MaybeSentError):
        shop.twilio.send_message(notice())
    (line,) = shop.book()
    assert shop.twilio.find_send_message(notice()) == Done(line["id"], "delivered; 1 segment (GSM-7)")
    assert len(shop.book()) == 1


def test_a_lost_request_left_nothing_and_may_go_again(shop: Shop) -> None:
    shop.fault(kind=Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.twilio.send_message(notice())
    assert shop.twilio.find_send_message(notice()) == NotFound(
        120.0, "no message to this number carries our reference", 30 * 86_400.0
    )
    done(shop.twilio.send_message(notice()))
    assert len(shop.book()) == 1


@pytest.mark.parametrize("status", [500, 502])
def test_an_error_after_the_effect_is_unknown_and_the_effect_is_found(shop: Shop, status: int) -> None:
    shop.fault(kind=Kind.STATUS, status=status, is_after_effect=True)
    assert isinstance(shop.twilio.send_message(notice()), Unknown)
    (line,) = shop.book()
    assert done(shop.twilio.find_send_message(notice())).reference == line["id"]


@pytest.mark.parametrize("is_after_effect", [True, False])
@pytest.mark.parametrize("status", [200, 201, 502])
def test_a_page_of_html_is_no_answer(shop: Shop, status: int, is_after_effect: bool) -> None:
    shop.fault(kind=Kind.HTML, status=status, is_after_effect=is_after_effect)
    assert isinstance(shop.twilio.send_message(notice()), Unknown)
    assert isinstance(shop.twilio.find_send_message(notice()), Done) is is_after_effect
    assert len(shop.book()) == int(is_after_effect)


def test_too_many_calls_did_nothing_and_come_again(shop: Shop) -> None:
    shop.fault(kind=Kind.STATUS, status=429)
    assert shop.twilio.send_message(notice()) == Retryable("throttled", "Twilio asks us to slow down")
    assert shop.book() == []
    done(shop.twilio.send_message(notice()))
    assert len(shop.book()) == 1


def test_bad_credentials_are_the_houses_fault(shop: Shop) -> None:
    outcome = shop.built(api_secret=Secret("wrong-secret")).send_message(notice())
    assert isinstance(outcome, Retryable)
    assert outcome.code == "unauthorised"
    assert "REFUNDFLOW_TWILIO_API_SECRET" in outcome.reason
    assert isinstance(shop.built(api_secret=Secret("wrong-secret")).find_send_message(notice()), Unknown)
    assert shop.book() == []


def test_an_account_that_is_not_the_keys_is_told(shop: Shop) -> None:
    outcome = shop.built(account_sid="AC" + "0" * 32).send_message(notice())
    assert isinstance(outcome, Permanent)
    assert outcome.code == "20404"
    assert isinstance(shop.built(account_sid="AC" + "0" * 32).find_send_message(notice()), Unknown)


@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST])
def test_a_look_that_is_lost_says_nothing(shop: Shop, kind: Kind) -> None:
    shop.fault("list_messages", kind)
    with pytest.raises(MaybeSentError):
        shop.twilio.find_send_message(notice())


@pytest.mark.parametrize(
    ("_case", "fault"),
    [
        ("throttled", {"kind": Kind.STATUS, "status": 429}),
        ("down", {"kind": Kind.STATUS, "status": 503}),
        ("HTML", {"kind": Kind.HTML, "status": 200}),
        ("refused", {"kind": Kind.REFUSE}),
        ("unauthorised", {"kind": Kind.REFUSE_AUTH}),
    ],
)
def test_a_look_that_failed_proves_nothing(shop: Shop, _case: str, fault: dict[str, Any]) -> None:
    shop.fault("list_messages", **fault)
    assert isinstance(shop.twilio.find_send_message(notice()), Unknown)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("_case", "number", "code"),
    [
        ("no number", 21211, "invalid_recipient"),
        ("a landline", 21614, "invalid_recipient"),
        ("opted out", 21610, "opted_out"),
        ("no way there", 21612, "21612"),
        ("a country that is off", 21408, "21408"),
        ("a trial account", 21608, "21608"),
        ("a code outside our table", 21703, "21703"),
    ],
)
def test_a_refusal_is_final_and_does_not_spell_the_number(
    shop: Shop, _case: str, number: int, code: str
) -> None:
    shop.seed(refusing={ADA: number})
    outcome = shop.twilio.send_message(notice())
    assert isinstance(outcome, Permanent)
    assert outcome.code == code
    assert ADA not in outcome.reason
    assert shop.book() == []
    # To others it still goes.
    done(shop.twilio.send_message(notice(2, to=BOB)))


def test_a_sender_that_is_not_ours_is_refused(shop: Shop) -> None:
    stranger = shop.built(messaging_service_sid="", sender="+12025550999")
    outcome = stranger.send_message(notice())
    assert isinstance(outcome, Permanent)
    assert outcome.code == "21659"


def test_a_full_queue_is_transient(shop: Shop) -> None:
    shop.fault(kind=Kind.REFUSE, code="21611")
    outcome = shop.twilio.send_message(notice())
    assert isinstance(outcome, Retryable)
    assert outcome.code == "throttled"
    assert shop.book() == []


def test_what_we_refuse_ourselves_never_reaches_twilio(shop: Shop) -> None:
    for command in (notice(to="ada@customers.example"), notice(text=""), notice(text="x" * 1_000)):
        assert isinstance(shop.twilio.send_message(command), Permanent)
    assert shop.asked == []


def test_who_opted_out_is_not_texted_and_hears_again_after_opting_in(shop: Shop) -> None:
    shop.settle(inbound={"from": ADA, "body": "Stop"})
    assert shop.twilio.send_message(notice()) == Permanent(
        "opted_out", "21610: the customer has opted out of texts from this sender"
    )
    shop.settle(inbound={"from": ADA, "body": "START"})
    done(shop.twilio.send_message(notice()))
    assert len(shop.book()) == 1


def test_an_opt_out_that_is_told_late_is_found(shop: Shop) -> None:
    shop.seed(habits={"refuses_opt_outs_at_once": False}, opted_out=[ADA])
    done(shop.twilio.send_message(notice()))
    assert shop.book() == []
    assert shop.twilio.find_send_message(notice()) == Permanent(
        "bounced", "the text will not arrive: failed (21610: the customer has opted out)"
    )


# ---------------------------------------------------------------- finding


def test_a_message_that_is_not_sent_yet_is_found_too(shop: Shop) -> None:
    shop.fault(kind=Kind.SLOW_PENDING)
    reference = done(shop.twilio.send_message(notice())).reference
    assert shop.twilio.find_send_message(notice()) == Done(reference, "accepted; 1 segment (GSM-7)")


def test_only_our_own_step_is_found_among_all_that_was_sent(shop: Shop) -> None:
    first = done(shop.twilio.send_message(notice(1)))
    other = done(shop.twilio.send_message(notice(11)))
    shop.seed(inbound=[{"from": ADA, "body": f"what is Ref {reference_of(notice(2))}"}])
    assert done(shop.twilio.find_send_message(notice(1))).reference == first.reference
    assert done(shop.twilio.find_send_message(notice(11))).reference == other.reference
    assert isinstance(shop.twilio.find_send_message(notice(2)), NotFound)
    assert isinstance(shop.twilio.find_send_message(notice(1, to=BOB)), NotFound)


def test_a_look_turns_every_page(shop: Shop) -> None:
    mine = done(shop.twilio.send_message(notice()))
    for number in range(2, 503):
        done(shop.twilio.send_message(notice(number)))
    assert done(shop.twilio.find_send_message(notice())).reference == mine.reference
    assert shop.asked.count("list_messages") == 2


def test_a_list_that_lags_shows_the_message_before_its_absence_would_prove_anything(shop: Shop) -> None:
    shop.seed(habits={"list_delay_s": 30.0})
    shop.fault()
    with pytest.raises(MaybeSentError):
        shop.twilio.send_message(notice())
    found = shop.twilio.find_send_message(notice())
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s is not None
    assert found.conclusive_after_s > 30.0
    shop.now += timedelta(seconds=31)
    done(shop.twilio.find_send_message(notice()))
    assert len(shop.book()) == 1


def test_a_text_that_did_not_arrive_is_sent_again_under_the_next_key_alone(shop: Shop) -> None:
    shop.seed(undelivered={ADA: 30003})
    lost = done(shop.twilio.send_message(notice()))
    found = shop.twilio.find_send_message(notice())
    assert isinstance(found, Permanent)
    assert found.code == "bounced"
    again = notice(attempt=2)
    assert isinstance(shop.twilio.find_send_message(again), NotFound)
    sent = done(shop.twilio.send_message(again))
    assert [line["id"] for line in shop.book()] == [lost.reference, sent.reference]
    assert [line["reference"] for line in shop.book()] == [again.step_key] * 2


# ---------------------------------------------------------------- what is told back


def test_callbacks_tell_our_step_that_the_text_arrived(shop: Shop) -> None:
    command = notice()
    done(shop.twilio.send_message(command))
    readings = shop.read(3)
    assert [type(reading) for reading in readings] == [Irrelevant, Irrelevant, MessageSeen]
    assert readings[-1] == MessageSeen(NAME, command.step_key, MessageStatus.DELIVERED)


def test_callbacks_tell_our_step_that_the_text_was_lost(shop: Shop) -> None:
    shop.seed(undelivered={ADA: 30006})
    command = notice()
    done(shop.twilio.send_message(command))
    assert shop.read(3)[-1] == MessageSeen(
        NAME, command.step_key, MessageStatus.BOUNCED, "undelivered (30006: a landline)"
    )


def test_a_text_that_waited_too_long_is_told_as_lost(shop: Shop) -> None:
    shop.fault(kind=Kind.SLOW_PENDING)
    command = notice()
    done(shop.twilio.send_message(command))
    shop.now += timedelta(seconds=3_601)
    assert isinstance(shop.twilio.find_send_message(command), Permanent)
    assert shop.read(1) == [
        MessageSeen(NAME, command.step_key, MessageStatus.BOUNCED, "failed (30036: not sent in time)")
    ]


def test_a_late_failure_is_told_and_found(shop: Shop) -> None:
    shop.fault(kind=Kind.LATE_FAILURE)
    command = notice()
    done(shop.twilio.send_message(command))
    done(shop.twilio.find_send_message(command))
    shop.read(2)
    shop.world.settle(NAME, {})
    (told,) = shop.read(1)
    assert isinstance(told, MessageSeen)
    assert (told.step_key, told.status) == (command.step_key, MessageStatus.BOUNCED)
    assert isinstance(shop.twilio.find_send_message(command), Permanent)


def test_what_twilio_tells_has_one_id_however_often_it_comes(shop: Shop) -> None:
    command = notice()
    reference = done(shop.twilio.send_message(command)).reference
    shop.read(3)
    vendor = shop.world.vendor(NAME)
    event = vendor.event_for("delivered", reference)
    for _ in range(2):
        shop.world.webhooks.send_now(NAME, event, f"{HOOK}?op={command.step_key}", double.AUTH_TOKEN)
    first, second = (shop.inbound.verify(shop.posts.get(timeout=5), NOW) for _ in range(2))
    assert first == second == Verified(f"{reference}:delivered", f"status:{command.step_key}")


@pytest.mark.parametrize("signs_port", [True, False])
def test_a_port_in_the_address_is_no_matter(shop: Shop, signs_port: bool) -> None:
    shop.seed(habits={"signs_port": signs_port})
    address = "https://rf.example:8443/hooks/twilio"
    shop.inbound = TwilioInbound(shop.credentials.auth_token, address)
    done(shop.built(webhook_url=address).send_message(notice()))
    assert isinstance(shop.read(3)[-1], MessageSeen)


def test_what_is_signed_for_another_account_or_address_is_refused(shop: Shop) -> None:
    reference = done(shop.twilio.send_message(notice())).reference
    shop.read(3)
    event = shop.world.vendor(NAME).event_for("delivered", reference)
    for url, token in ((HOOK, "another-token"), ("https://evil.example/hooks/twilio", double.AUTH_TOKEN)):
        shop.world.webhooks.send_now(NAME, event, url, token)
        assert shop.inbound.verify(shop.posts.get(timeout=5), NOW) == Refused("the signature does not match")


@pytest.mark.parametrize(
    ("_case", "words", "has_advanced_opt_out", "said"),
    [
        ("a word that opts out", "Cancel", False, "opted out"),
        ("the same, told by Twilio", "STOP", True, "opted out"),
        ("a wish", "Please cancel order 1042 and send my money back", False, "never moves money"),
        ("nothing", "", False, "never moves money"),
    ],
)
def test_what_customers_write_is_understood_and_moves_nothing(
    shop: Shop, _case: str, words: str, has_advanced_opt_out: bool, said: str
) -> None:
    sid = "MGfacade00000000000000000000000009"
    number = "+12025550149"
    shop.seed(services=[{"sid": sid, "senders": [number], "has_advanced_opt_out": has_advanced_opt_out}])
    shop.world.webhooks.subscribe(NAME, Subscription(HOOK, double.AUTH_TOKEN))
    shop.settle(inbound={"from": ADA, "body": words, "to": number})
    (reading,) = shop.read(1)
    assert isinstance(reading, Irrelevant)
    assert said in reading.why
