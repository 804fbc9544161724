"""SendGrid's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.sendgrid import Credentials, SendGrid, SendGridInbound, build
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MailReceived,
    MessageSeen,
    MessagesSeen,
    MessageStatus,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import sendgrid as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "sendgrid"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STEP = mint_step_key(mint_case_id(NOW, 12345), "notify", 1)
ADA = "ada@customers.example"
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to=ADA,
    template="refund_sent",
    subject="Your refund",
    text="We sent 42.50 EUR back.",
    html="<p>We sent 42.50 EUR back.</p>",
)
LETTER = {
    "to": "cancel@in.practice.example",
    "from": "Ada Lovelace <ada@customers.example>",
    "subject": "Please cancel order 1001",
    "text": "I changed my mind.",
    "spf": "pass",
    "dkim": "{@customers.example : pass}",
}
ABSENT = NotFound(300.0, "no message in SendGrid's logs carries our reference", 259_200.0)


class House:
    """A practice SendGrid, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.deliveries: list[Delivery] = []
        self.world = World([double.SendGrid], clock=lambda: self.now, send=self.take)
        self.sendgrid = self.connected()
        self.inbound: SendGridInbound = self.credentials().inbound

    def credentials(self, **changes: Any) -> Credentials:
        given: dict[str, Any] = {
            "api_key": Secret(double.SENDING_KEY),
            "read_key": Secret(double.READING_KEY),
            "sender": f"Shop <orders@{double.DOMAIN}>",
            "reply_to": "cancel@in.practice.example",
            "event_public_key": double.EVENT_PUBLIC_KEY,
            "parse_public_key": double.PARSE_PUBLIC_KEY,
            "base_url": f"{VENDORS}/{NAME}",
            **changes,
        }
        return Credentials(**given)

    def connected(self, **changes: Any) -> SendGrid:
        return build(self.credentials(**changes), WorldWire(self.world))

    def take(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.deliveries.append(Delivery({n.lower(): v for n, v in headers.items()}, body))
        return 200

    def seed(self, **data: Any) -> None:
        self.world.seed({NAME: data})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, kind: Kind, operation: str = "send_mail", **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def listen(self, secret: str = double.WEBHOOK_SECRET, **more: Any) -> None:
        subscription = Subscription("http://rf.example/hooks/sendgrid", secret, **more)
        self.world.webhooks.subscribe(NAME, subscription)

    def heard(self) -> list[Delivery]:
        """What has been delivered by now, taken away."""
        self.world.webhooks.wait_idle()
        taken, self.deliveries = self.deliveries, []
        return taken

    def read(self, delivery: Delivery) -> Any:
        verified = self.inbound.verify(delivery, self.now)
        assert isinstance(verified, Verified), verified
        return self.inbound.read_event(verified.topic, delivery.body)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def book(self) -> list[Record]:
        return self.world.vendor(NAME).book.lines()

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Every effect in the vendor's book, with our reference."""
        return [(line["effect"], line["reference"]) for line in self.book]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.world.close()


ONCE = [("send_message", STEP)]


# ---------------------------------------------------------------- sending


def test_a_message_is_sent_once_and_found_as_what_became_of_it(house: House) -> None:
    said = house.sendgrid.send_message(COMMAND)
    assert isinstance(said, Done)
    [line] = house.book
    assert (line["effect"], line["recipient"], line["subject"], line["text"]) == (
        "send_message",
        ADA,
        "Your refund",
        "We sent 42.50 EUR back.",
    )
    assert line["custom_args"] == {"rf_op": STEP, "rf_key": COMMAND.key, "rf_case": STEP.split(".")[0]}
    assert line["message_id"] == said.reference
    assert house.sendgrid.find_send_message(COMMAND) == Done(line["id"], "delivered")
    assert house.sent == ONCE


def test_a_key_is_checked_for_what_it_has_to_do(house: House) -> None:
    assert house.sendgrid.check().is_ok
    assert not house.connected(api_key=Secret(double.READING_KEY)).check().is_ok
    assert not house.connected(read_key=Secret(double.SENDING_KEY)).check().is_ok
    assert not house.connected(api_key=Secret("SG.nobody")).check().is_ok
    assert house.connected(api_key=Secret(double.API_KEY), read_key=Secret("")).check().is_ok
    assert house.sent == []


def test_one_key_for_everything_works_too(house: House) -> None:
    alone = house.connected(api_key=Secret(double.API_KEY), read_key=Secret(""))
    assert isinstance(alone.send_message(COMMAND), Done)
    assert isinstance(alone.find_send_message(COMMAND), Done)
    assert house.sent == ONCE


def test_sandbox_mode_sends_nothing_and_finds_that_it_may_be_tried_again(house: House) -> None:
    rehearsing = house.connected(sandbox="yes")
    for _ in range(2):
        assert rehearsing.send_message(COMMAND) == Done("", "sandbox mode: checked, and not sent")
    assert house.sent == [("test_message", STEP)] * 2
    found = rehearsing.find_send_message(COMMAND)
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s == 0.0
    assert house.sendgrid.find_send_message(COMMAND) == ABSENT


# ---------------------------------------------------------------- what goes wrong on the wire


def send_and_look(house: House) -> Any:
    """As the flow does it: a send whose end nobody knows is looked up, and nothing else."""
    with pytest.raises(MaybeSentError):
        house.sendgrid.send_message(COMMAND)
    return house.sendgrid.find_send_message(COMMAND)


def test_a_reply_lost_after_the_send_is_found_and_not_sent_again(house: House) -> None:
    house.fault(Kind.LOST_REPLY)
    assert send_and_look(house) == Done(house.book[0]["id"], "delivered")
    assert house.sent == ONCE


def test_a_lost_request_is_absent_and_sent_again_once(house: House) -> None:
    house.fault(Kind.LOST_REQUEST)
    assert send_and_look(house) == ABSENT
    assert house.sent == []
    assert isinstance(house.sendgrid.send_message(COMMAND), Done)
    assert house.sent == ONCE


def test_a_message_that_shows_late_is_not_taken_for_absent_for_good(house: House) -> None:
    house.seed(habits={"found_after_s": 240.0})
    house.fault(Kind.LOST_REPLY)
    absent = send_and_look(house)
    assert absent == ABSENT
    assert absent.conclusive_after_s > 240.0
    house.wait(240)
    assert isinstance(house.sendgrid.find_send_message(COMMAND), Done)
    assert house.sent == ONCE


@pytest.mark.parametrize(
    ("_case", "kind", "more"),
    [
        ("a 500 after the effect", Kind.STATUS, {"status": 500, "is_after_effect": True}),
        ("a 503 after the effect", Kind.STATUS, {"status": 503, "is_after_effect": True}),
        ("a page of HTML after the effect", Kind.HTML, {"status": 502, "is_after_effect": True}),
        ("a page of HTML that says yes", Kind.HTML, {"status": 200, "is_after_effect": True}),
    ],
)
def test_an_answer_that_says_nothing_is_unknown_and_the_message_is_found(
    house: House, _case: str, kind: Kind, more: dict[str, Any]
) -> None:
    house.fault(kind, **more)
    assert isinstance(house.sendgrid.send_message(COMMAND), Unknown)
    assert isinstance(house.sendgrid.find_send_message(COMMAND), Done)
    assert house.sent == ONCE


def test_a_500_before_the_effect_is_absent(house: House) -> None:
    house.fault(Kind.STATUS, status=500)
    assert isinstance(house.sendgrid.send_message(COMMAND), Unknown)
    assert house.sendgrid.find_send_message(COMMAND) == ABSENT
    assert house.sent == []


def test_too_many_calls_are_told_apart_from_a_no(house: House) -> None:
    house.fault(Kind.STATUS, status=429, headers={"Retry-After": "7"})
    assert house.sendgrid.send_message(COMMAND) == Retryable(
        "throttled", "SendGrid asks us to slow down", 7.0
    )
    assert house.sent == []
    assert isinstance(house.sendgrid.send_message(COMMAND), Done)
    assert house.sent == ONCE


def test_a_refusal_is_a_definite_no(house: House) -> None:
    house.fault(Kind.REFUSE, code="The subject is required.")
    said = house.sendgrid.send_message(COMMAND)
    assert said == Permanent(
        "invalid_message", "The subject is required. (SendGrid cannot take the message as it is)"
    )
    assert house.sent == []


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("an unknown key", {"api_key": Secret("SG.nobody")}),
        ("a key that may not send", {"api_key": Secret(double.READING_KEY)}),
        ("a sender that is not verified", {"sender": "orders@elsewhere.example"}),
    ],
)
def test_bad_credentials_are_the_houses_fault(house: House, _case: str, changes: dict[str, Any]) -> None:
    said = house.connected(**changes).send_message(COMMAND)
    assert isinstance(said, Retryable)
    assert said.code == "unauthorised"
    assert house.sent == []


def test_a_key_that_may_not_look_proves_nothing(house: House) -> None:
    blind = house.connected(read_key=Secret(double.SENDING_KEY))
    house.fault(Kind.LOST_REPLY)
    with pytest.raises(MaybeSentError):
        blind.send_message(COMMAND)
    assert isinstance(blind.find_send_message(COMMAND), Unknown)
    assert house.sent == ONCE


def test_a_search_that_is_throttled_or_broken_proves_nothing(house: House) -> None:
    house.sendgrid.send_message(COMMAND)
    for operation in ("search_logs", "get_log"):
        for more in ({"status": 429}, {"status": 500}, {"status": 404}):
            house.fault(Kind.STATUS, operation, **more)
            assert isinstance(house.sendgrid.find_send_message(COMMAND), Unknown)
        house.fault(Kind.HTML, operation, status=200)
        assert isinstance(house.sendgrid.find_send_message(COMMAND), Unknown)
    assert isinstance(house.sendgrid.find_send_message(COMMAND), Done)


# ---------------------------------------------------------------- whose message it is


def test_messages_of_other_steps_and_keys_are_not_ours(house: House) -> None:
    other = mint_step_key(mint_case_id(NOW, 999), "notify", 1)
    house.sendgrid.send_message(replace(COMMAND, step_key=other, key=wire_key(other, 1)))
    house.sendgrid.send_message(
        replace(COMMAND, step_key=mint_step_key(mint_case_id(NOW, 12345), "notify", 11))
    )
    assert house.sendgrid.find_send_message(COMMAND) == ABSENT
    house.sendgrid.send_message(COMMAND)
    assert isinstance(house.sendgrid.find_send_message(COMMAND), Done)
    again = replace(COMMAND, key=wire_key(STEP, 2))
    assert house.sendgrid.find_send_message(again) == ABSENT


@pytest.mark.parametrize(
    "to", ["Ada@Customers.Example", "o'brien@customers.example", "ada+1@customers.example"]
)
def test_addresses_of_every_spelling_are_found(house: House, to: str) -> None:
    command = replace(COMMAND, to=to)
    house.sendgrid.send_message(command)
    assert isinstance(house.sendgrid.find_send_message(command), Done)


def test_another_mail_than_the_call_made_known_does_not_matter(house: House) -> None:
    house.seed(habits={"has_prefixed_ids": False, "keeps_message_id": False})
    house.sendgrid.send_message(COMMAND)
    assert isinstance(house.sendgrid.find_send_message(COMMAND), Done)


# ---------------------------------------------------------------- what became of it


@pytest.mark.parametrize(
    ("code", "detail"),
    [("", "accepted"), ("deferred", "accepted; delivery is being retried")],
)
def test_a_message_on_its_way_is_found_as_such(house: House, code: str, detail: str) -> None:
    house.fault(Kind.SLOW_PENDING, code=code)
    house.sendgrid.send_message(COMMAND)
    found = house.sendgrid.find_send_message(COMMAND)
    assert isinstance(found, Done)
    assert found.detail == detail


def test_a_message_without_any_event_is_not_seen_and_not_proven_absent_at_once(house: House) -> None:
    house.fault(Kind.SLOW_PENDING, code="queued")
    house.sendgrid.send_message(COMMAND)
    assert house.sendgrid.find_send_message(COMMAND) == ABSENT


@pytest.mark.parametrize(("list_name", "code"), [("bouncing", "bounced"), ("blocking", "blocked")])
def test_a_message_that_came_back_is_found_as_a_definite_no(house: House, list_name: str, code: str) -> None:
    house.seed(**{list_name: [ADA]})
    house.sendgrid.send_message(COMMAND)
    found = house.sendgrid.find_send_message(COMMAND)
    assert isinstance(found, Permanent)
    assert found.code == code
    assert house.sent == ONCE


def test_to_an_address_that_bounced_nothing_more_is_sent(house: House) -> None:
    house.seed(bouncing=[ADA])
    house.sendgrid.send_message(COMMAND)
    later = replace(COMMAND, key=wire_key(STEP, 2))
    said = house.sendgrid.send_message(later)
    assert isinstance(said, Permanent)
    assert said.code == "suppressed"
    assert house.sent == ONCE
    assert house.asked.count("send_mail") == 1


def test_a_block_keeps_no_later_message_back(house: House) -> None:
    house.seed(blocking=[ADA])
    house.sendgrid.send_message(COMMAND)
    assert isinstance(house.sendgrid.send_message(replace(COMMAND, key=wire_key(STEP, 2))), Done)


@pytest.mark.parametrize("name", ["bounces", "invalid_emails", "spam_reports", "global"])
def test_a_suppressed_address_gets_nothing_whatever_the_list_and_the_spelling(
    house: House, name: str
) -> None:
    house.seed(suppressions=[{"list": name, "email": ADA}])
    for to in (ADA, "Ada@customers.example"):
        said = house.sendgrid.send_message(replace(COMMAND, to=to))
        assert isinstance(said, Permanent)
        assert said.code == "suppressed"
    assert house.sent == []
    assert "send_mail" not in house.asked


@pytest.mark.parametrize("name", ["bounces", "invalid_emails", "spam_reports", "global"])
def test_where_the_lists_cannot_be_read_the_vendor_drops_the_message_and_a_look_says_so(
    house: House, name: str
) -> None:
    house.seed(suppressions=[{"list": name, "email": ADA}])
    blind = house.connected(read_key=Secret(double.SENDING_KEY))
    assert isinstance(blind.send_message(COMMAND), Done)
    assert house.sent == [("drop_message", STEP)]
    found = house.sendgrid.find_send_message(COMMAND)
    assert isinstance(found, Permanent)
    assert found.code == "suppressed"


# ---------------------------------------------------------------- deliveries


def test_what_became_of_a_message_is_heard_signed_and_the_same_each_time(house: House) -> None:
    house.listen(copies=3)
    house.sendgrid.send_message(COMMAND)
    deliveries = house.heard()
    assert len(deliveries) == 3
    ids = {house.inbound.verify(each, house.now) for each in deliveries}
    assert len(ids) == 1
    seen = MessageSeen(NAME, STEP, MessageStatus.DELIVERED)
    assert [house.read(each) for each in deliveries] == [MessagesSeen((seen,))] * 3


@pytest.mark.parametrize(
    ("event", "status", "why"),
    [
        ("bounce", MessageStatus.BOUNCED, "bounce 5.1.1 550 5.1.1 no such mailbox"),
        ("blocked", MessageStatus.BOUNCED, "blocked 5.7.1 554 5.7.1 not accepted"),
        ("dropped", MessageStatus.BOUNCED, "dropped Invalid"),
        ("spamreport", MessageStatus.COMPLAINED, ""),
        ("unsubscribe", MessageStatus.OPTED_OUT, ""),
    ],
)
def test_late_words_are_heard(house: House, event: str, status: MessageStatus, why: str) -> None:
    said = house.sendgrid.send_message(COMMAND)
    assert isinstance(said, Done)
    house.listen()
    house.settle(message=said.reference, event=event)
    [delivery] = house.heard()
    assert house.read(delivery) == MessagesSeen((MessageSeen(NAME, STEP, status, why),))


def test_a_bounce_after_the_delivery_is_heard_though_it_names_no_message(house: House) -> None:
    house.fault(Kind.LATE_FAILURE)
    house.sendgrid.send_message(COMMAND)
    house.listen()
    house.world.settle(NAME, {})
    [delivery] = house.heard()
    [seen] = house.read(delivery).messages
    assert (seen.step_key, seen.status) == (STEP, MessageStatus.BOUNCED)


def test_opens_and_clicks_are_passed_over(house: House) -> None:
    said = house.sendgrid.send_message(COMMAND)
    assert isinstance(said, Done)
    house.listen()
    for event in ("open", "click", "deferred", "processed"):
        house.settle(message=said.reference, event=event)
    assert [type(house.read(each)) for each in house.heard()] == [Irrelevant] * 4


@pytest.mark.parametrize("signs_anew", [True, False])
def test_a_repeat_hours_later_is_still_taken(house: House, signs_anew: bool) -> None:
    house.seed(habits={"signs_retries_anew": signs_anew})
    vendor = house.world.vendor(NAME)
    said = house.sendgrid.send_message(COMMAND)
    assert isinstance(said, Done)
    event = vendor.event_for("events", said.reference)
    verified = set()
    for hours in (0, 24):
        house.wait(hours * 3600)
        signed = vendor.sign(event, "", double.WEBHOOK_SECRET)
        delivery = Delivery({n.lower(): v for n, v in signed.headers.items()}, signed.body)
        verified.add(house.inbound.verify(delivery, house.now))
    [one] = verified
    assert isinstance(one, Verified)


@pytest.mark.parametrize("secret", ["", "another-secret"])
def test_deliveries_that_are_not_signed_with_our_keys_are_refused(house: House, secret: str) -> None:
    house.listen(secret)
    house.sendgrid.send_message(COMMAND)
    house.settle(inbound=LETTER)
    deliveries = house.heard()
    assert len(deliveries) == 2
    for delivery in deliveries:
        assert isinstance(house.inbound.verify(delivery, house.now), Refused)


def letter(house: House, **changes: Any) -> MailReceived:
    house.listen()
    house.settle(inbound={**LETTER, **changes})
    [delivery] = house.heard()
    found = house.read(delivery)
    assert isinstance(found, MailReceived)
    return found


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_letter_is_read_in_fields_and_as_a_whole(house: House, is_raw: bool) -> None:
    house.seed(send_raw=is_raw)
    assert letter(house, message_id="<m1@customers.example>") == MailReceived(
        message_id="m1@customers.example",
        sender="ada@customers.example",
        subject="Please cancel order 1001",
        text="I changed my mind.",
        sender_name="Ada Lovelace",
        is_authenticated=True,
        is_automatic=False,
    )


@pytest.mark.parametrize("is_raw", [False, True])
def test_letters_and_attachments_of_every_alphabet_are_read(house: House, is_raw: bool) -> None:
    house.seed(send_raw=is_raw)
    found = letter(
        house,
        **{"from": "Ada Lövelace <ada@customers.example>"},
        subject="Größe: zurück",
        text="Bitte stornieren Sie Größe 42.\n注文をキャンセル",
        html="<p>not this</p>",
        attachments=[{"filename": "größe.txt", "type": "text/plain", "content": "not this either"}],
    )
    assert (found.subject, found.sender_name) == ("Größe: zurück", "Ada Lövelace")
    assert found.text == "Bitte stornieren Sie Größe 42.\n注文をキャンセル"


def test_fields_come_in_the_charsets_that_the_form_names(house: House) -> None:
    found = letter(house, text="Größe", subject="Größe", charsets={"text": "iso-8859-1", "subject": "cp1252"})
    assert (found.text, found.subject) == ("Größe", "Größe")


@pytest.mark.parametrize(
    ("_case", "changes", "is_authenticated", "is_automatic"),
    [
        ("nothing proven", {"spf": "none", "dkim": "none"}, False, False),
        ("only the envelope's domain is", {"envelope_from": "x@mallory.example", "dkim": "none"}, False, False),
        ("a forged second From", {"headers": [["From", "boss@customers.example"]]}, False, False),
        ("an out-of-office reply", {"headers": [["Auto-Submitted", "auto-replied"]]}, True, True),
        ("a list", {"headers": [["List-Id", "<news.example>"]]}, True, True),
        ("a bounce", {"envelope_from": "", "dkim": "none", "from": "MAILER-DAEMON@customers.example"}, False, True),
        ("our own mail come back", {"headers": [["X-Refundflow-Loop", "RF-1"]]}, True, True),
        ("our own address", {"from": f"Shop <orders@{double.DOMAIN}>"}, True, True),
    ],
)  # fmt: skip
def test_what_a_letter_proves_and_who_wrote_it(
    house: House, _case: str, changes: dict[str, Any], is_authenticated: bool, is_automatic: bool
) -> None:
    found = letter(house, **changes)
    assert (found.is_authenticated, found.is_automatic) == (is_authenticated, is_automatic)


def test_a_letter_delivered_three_times_is_one_event(house: House) -> None:
    house.listen(copies=3)
    house.settle(inbound=LETTER)
    verified = {house.inbound.verify(each, house.now) for each in house.heard()}
    house.settle(inbound={**LETTER, "text": "And order 1002."})
    verified |= {house.inbound.verify(each, house.now) for each in house.heard()}
    assert len(verified) == 2
    assert all(isinstance(each, Verified) for each in verified)
