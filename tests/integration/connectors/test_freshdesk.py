"""Freshdesk's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.freshdesk import (
    Credentials,
    Freshdesk,
    FreshdeskInbound,
    build,
    build_inbound,
)
from refundflow.domain.commands import CommentTicket
from refundflow.domain.facts import OrderRef
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import CancellationRequested, Delivery, MalformedError, Refused, Verified
from refundflow.domain.outcomes import AlreadyDone, Done, Found, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import freshdesk as double
from refundflow.sandbox.base import Fault, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request, Response
from tests.support.world_http import VENDORS, WorldWire

NAME = "freshdesk"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
ADA = "ada@customers.example"
TOKEN = "practice-freshdesk-token"
ASKING: Record = {
    "subject": "Please cancel",
    "description": "<p>I do not need it any more.</p>",
    "email": ADA,
    "status": 2,
    "priority": 2,
    "tags": ["vip", double.CANCEL_TAG],
    "custom_fields": {"cf_order_ref": "1042"},
}


class Desk:
    """A practice Freshdesk, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.deliveries: list[Delivery] = []
        self.world = World([double.Freshdesk], clock=lambda: self.now, send=self.take)
        self.credentials = Credentials(
            api_key=Secret(double.API_KEY),
            base_url=f"{VENDORS}/{NAME}",
            agent_id=str(double.AGENT_ID),
            cancellation_tag=double.CANCEL_TAG,
            webhook_token=Secret(TOKEN),
        )
        self.freshdesk: Freshdesk = build(self.credentials, WorldWire(self.world), lambda: self.now)

    @property
    def inbound(self) -> FreshdeskInbound:
        return build_inbound(self.credentials, "shopify")

    def take(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.deliveries.append(Delivery({n.lower(): v for n, v in headers.items()}, body))
        return 200

    def ticket(self, **more: Any) -> str:
        made = self.world.seed({NAME: {"tickets": [{**ASKING, **more}]}})[NAME]["tickets"][0]
        return str(made["id"])

    def seed(self, **data: Any) -> None:
        self.world.seed({NAME: data})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, operation: str, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def later(self, **delta: float) -> None:
        self.now += timedelta(**delta)

    def book(self, effect: str) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.world.vendor(NAME).book.lines()]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def shown(self, ticket_id: str | int) -> double.Ticket:
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.Freshdesk)
        return vendor.tickets[int(ticket_id)]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.world.close()


def comment(ticket_id: str = "", number: int = 1, **changes: Any) -> CommentTicket:
    step_key = mint_step_key(CASE, "tell_ticket", number)
    return CommentTicket(
        **{
            "step_key": step_key,
            "key": wire_key(step_key, 1),
            "case_id": CASE,
            "order_number": "1042",
            "template": "order_cancelled",
            "subject": "Your order 1042 is cancelled",
            "text": "Your order 1042 is cancelled.",
            "ticket_id": ticket_id,
            "requester_email": ADA,
            "requester_name": "Ada Lovelace",
            "is_public": True,
            "tags": ("rf_cancelled",),
            "status": "solved",
            **changes,
        }
    )


def attempt(desk: Desk, command: CommentTicket) -> Any:
    """One try, as the flow reads it."""
    try:
        return desk.freshdesk.comment_ticket(command)
    except MaybeSentError as error:
        return Unknown(error.reason)


def settled(desk: Desk, command: CommentTicket) -> Any:
    """What the flow does with an unknown outcome: it looks, waits for as long as an absence needs, and sends again only
    after a proof of absence.
    """
    said = attempt(desk, command)
    sent_at = desk.now
    for _ in range(20):
        if not isinstance(said, Unknown):
            return said
        found: Found = desk.freshdesk.find_comment_ticket(command)
        match found:
            case NotFound(conclusive_after_s=float() as delay):
                if (desk.now - sent_at).total_seconds() >= delay:
                    said, sent_at = attempt(desk, command), desk.now
                else:
                    desk.later(seconds=60)
            case NotFound():
                return found
            case other:
                said = other
    raise AssertionError("it goes round and round")


# ---------------------------------------------------------------- on the ticket that asked


def test_a_reply_is_mailed_and_the_tickets_tags_and_status_follow(desk: Desk) -> None:
    ticket = desk.ticket()
    said = desk.freshdesk.comment_ticket(comment(ticket))
    (reply,) = desk.book("send_reply")
    assert said == Done(f"{ticket}:{reply['id']}", f"reply on ticket {ticket}; mailed to 1")
    assert (reply["to"], reply["reference"]) == ([ADA], f"{CASE}.tell_ticket.1")
    assert desk.effects == ["send_reply", "update_ticket"]
    fields = desk.shown(ticket).fields
    assert fields["tags"] == ["vip", double.CANCEL_TAG, "rf_cancelled"]
    assert fields["status"] == 4
    assert fields["custom_fields"] == {
        **dict.fromkeys(("cf_rf_state", "cf_rf_op")),
        "cf_order_ref": "1042",
        "cf_rf_case": CASE,
    }
    assert desk.freshdesk.find_comment_ticket(comment(ticket)) == said


def test_a_note_stays_with_the_staff(desk: Desk) -> None:
    ticket = desk.ticket()
    command = comment(ticket, is_public=False, status="", text='Refund "re_1" & <b>42.50</b>')
    said = desk.freshdesk.comment_ticket(command)
    (note,) = desk.book("add_note")
    assert said == Done(f"{ticket}:{note['id']}", f"note on ticket {ticket}")
    assert (note["private"], note["to"]) == (True, [])
    assert note["text"] == f'Refund "re_1" & <b>42.50</b> Ref {command.step_key}'
    assert desk.shown(ticket).fields["status"] == 2
    assert desk.book("send_reply") == []


def test_a_second_run_changes_nothing(desk: Desk) -> None:
    ticket = desk.ticket()
    first = desk.freshdesk.comment_ticket(comment(ticket))
    before = desk.effects
    again = desk.freshdesk.comment_ticket(comment(ticket))
    assert isinstance(first, Done)
    assert again == AlreadyDone(first.reference, first.detail)
    assert desk.effects == before


def test_two_steps_of_a_case_are_two_comments_on_one_ticket(desk: Desk) -> None:
    ticket = desk.ticket()
    for number in (1, 11):
        assert isinstance(desk.freshdesk.comment_ticket(comment(ticket, number)), Done)
    assert [line["reference"] for line in desk.book("send_reply")] == [
        f"{CASE}.tell_ticket.1",
        f"{CASE}.tell_ticket.11",
    ]


def test_tags_that_others_added_meanwhile_stay(desk: Desk) -> None:
    ticket = desk.ticket()
    vendor = desk.freshdesk.http

    class Meanwhile:
        """Somebody tags the ticket right after the reply."""

        def send(self, request: Request) -> Response:
            response = vendor.send(request)
            if request.method == "POST":
                desk.settle(ticket=ticket, change={"tags": ["vip", double.CANCEL_TAG, "answered"]})
            return response

    hurried = Freshdesk(Meanwhile(), "cf_rf_case", "cf_order_ref", now=lambda: desk.now)
    assert isinstance(hurried.comment_ticket(comment(ticket)), Done)
    assert desk.shown(ticket).fields["tags"] == ["vip", double.CANCEL_TAG, "answered", "rf_cancelled"]


def test_a_closed_ticket_is_answered_and_stays_closed(desk: Desk) -> None:
    ticket = desk.ticket(status=5)
    assert isinstance(desk.freshdesk.comment_ticket(comment(ticket)), Done)
    assert desk.shown(ticket).fields["status"] == 5
    assert desk.book("create_ticket") == []


def test_a_comment_that_wants_nothing_changed_changes_nothing(desk: Desk) -> None:
    ticket = desk.ticket(custom_fields={"cf_rf_case": CASE})
    assert isinstance(desk.freshdesk.comment_ticket(comment(ticket, tags=(), status="")), Done)
    assert desk.effects == ["send_reply"]


def test_another_cases_ticket_keeps_its_case(desk: Desk) -> None:
    ticket = desk.ticket(custom_fields={"cf_rf_case": "RF-00K3ZQ4M7ABCDEF"})
    assert isinstance(desk.freshdesk.comment_ticket(comment(ticket)), Done)
    assert desk.shown(ticket).fields["custom_fields"]["cf_rf_case"] == "RF-00K3ZQ4M7ABCDEF"


def test_a_reply_that_is_mailed_to_nobody_is_no_success(desk: Desk) -> None:
    desk.seed(contacts=[{"unique_external_id": "c-9"}])
    unmailed = {name: value for name, value in ASKING.items() if name != "email"}
    seeded = desk.world.seed({NAME: {"tickets": [{**unmailed, "unique_external_id": "c-9"}]}})
    ticket = str(seeded[NAME]["tickets"][0]["id"])
    said = desk.freshdesk.comment_ticket(comment(ticket))
    assert isinstance(said, Permanent)
    assert said.code == "not_mailed"
    assert desk.effects == ["send_reply"]
    assert desk.freshdesk.find_comment_ticket(comment(ticket)) == said
    assert desk.freshdesk.comment_ticket(comment(ticket)) == said
    assert desk.effects == ["send_reply"]


def test_a_reply_to_somebody_else_than_the_customer_of_the_order_is_told(desk: Desk) -> None:
    ticket = desk.ticket(email="eve@elsewhere.example")
    said = desk.freshdesk.comment_ticket(comment(ticket))
    assert isinstance(said, Done)
    assert said.detail == f"reply on ticket {ticket}; mailed to 1; none of them the address of the order"


# ---------------------------------------------------------------- broken off, and continued


@pytest.mark.parametrize("operation", ["create_reply", "update_ticket"])
@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST, Kind.HTML])
def test_whatever_gets_lost_there_is_one_reply_and_one_state(desk: Desk, operation: str, kind: Kind) -> None:
    ticket = desk.ticket()
    desk.fault(operation, kind)
    assert isinstance(settled(desk, comment(ticket)), Done | AlreadyDone)
    assert len(desk.book("send_reply")) == 1
    assert desk.shown(ticket).fields["status"] == 4
    assert "rf_cancelled" in desk.shown(ticket).fields["tags"]


@pytest.mark.parametrize("operation", ["create_ticket", "create_reply", "update_ticket"])
@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_error_after_the_act_acts_once(desk: Desk, operation: str, status: int) -> None:
    desk.fault(operation, Kind.STATUS, status=status, is_after_effect=True)
    assert isinstance(settled(desk, comment()), Done | AlreadyDone)
    assert [len(desk.book(e)) for e in ("create_ticket", "send_reply", "create_contact")] == [1, 1, 1]


@pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST, Kind.HTML])
def test_whatever_gets_lost_there_is_one_ticket(desk: Desk, kind: Kind) -> None:
    desk.fault("create_ticket", kind)
    assert isinstance(settled(desk, comment()), Done)
    assert [len(desk.book(e)) for e in ("create_ticket", "send_reply")] == [1, 1]


def test_a_lost_reply_is_looked_up_and_not_sent_again(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.fault("create_reply")
    command = comment(ticket)
    assert isinstance(attempt(desk, command), Unknown)
    assert desk.freshdesk.find_comment_ticket(command) == NotFound(
        0.0,
        f"the comment is there as {ticket}:{desk.book('send_reply')[0]['id']}, and its tags and status are not all set",
    )
    assert isinstance(desk.freshdesk.comment_ticket(command), Done)
    assert desk.effects == ["send_reply", "update_ticket"]


def test_messages_that_show_late_are_waited_for(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.seed(habits={"conversations_delay_s": 90.0})
    desk.fault("create_reply")
    assert isinstance(settled(desk, comment(ticket)), Done | AlreadyDone)
    assert len(desk.book("send_reply")) == 1


@pytest.mark.parametrize("operation", ["get_ticket", "list_conversations", "search_tickets", "list_tickets"])
@pytest.mark.parametrize("status", [429, 500, 503, 401, 403])
def test_a_look_that_fails_writes_nothing(desk: Desk, operation: str, status: int) -> None:
    ticket = "" if operation in ("search_tickets", "list_tickets") else desk.ticket()
    for _ in range(2):
        desk.fault(operation, Kind.STATUS, status=status)
    said = desk.freshdesk.comment_ticket(comment(ticket))
    assert isinstance(said, Retryable)
    assert said.code == {429: "throttled", 401: "unauthorised", 403: "unauthorised"}.get(
        status, "unavailable"
    )
    assert isinstance(desk.freshdesk.find_comment_ticket(comment(ticket)), Unknown)
    assert desk.effects == []


def test_throttled_before_the_comment_nothing_happened(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.fault("create_reply", Kind.STATUS, status=429, headers={"Retry-After": "7"})
    assert desk.freshdesk.comment_ticket(comment(ticket)) == Retryable(
        "throttled", "Freshdesk asks us to slow down", 7.0
    )
    assert desk.effects == []


def test_throttled_after_the_ticket_was_made_waits_until_it_can_be_found(desk: Desk) -> None:
    desk.fault("create_reply", Kind.STATUS, status=429)
    said = desk.freshdesk.comment_ticket(comment())
    assert isinstance(said, Unknown)
    assert said.reason.endswith("was made for it; Freshdesk asks us to slow down")
    assert isinstance(settled(desk, comment()), Done)
    assert [len(desk.book(e)) for e in ("create_ticket", "send_reply")] == [1, 1]


def test_a_refused_comment_is_a_no_and_leaves_the_ticket_as_it_was(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.fault("create_reply", Kind.REFUSE, code="invalid_value")
    said = desk.freshdesk.comment_ticket(comment(ticket))
    assert said == Permanent(
        "invalid_value",
        "Freshdesk refused the reply: body: invalid_value (the desk does not take this value)",
    )
    assert desk.effects == []
    assert desk.shown(ticket).fields["status"] == 2


def test_a_field_that_closing_needs_is_told_with_the_comment_that_is_there(desk: Desk) -> None:
    desk.seed(fields=[{"name": "cf_why", "required_for_closure": True}])
    ticket = desk.ticket()
    said = desk.freshdesk.comment_ticket(comment(ticket))
    (reply,) = desk.book("send_reply")
    assert isinstance(said, Permanent)
    assert said.code == "missing_field"
    assert said.reason.startswith(
        f"the comment is there as {ticket}:{reply['id']}; its tags and status are not set"
    )
    assert "cf_why" in said.reason
    # A person fills it in and lets the step go again.
    desk.settle(ticket=ticket, change={"custom_fields": {"cf_why": "customer"}})
    assert isinstance(desk.freshdesk.comment_ticket(comment(ticket)), Done)
    assert len(desk.book("send_reply")) == 1


def test_a_wrong_key_is_the_houses_fault(desk: Desk) -> None:
    wrong = build(
        Credentials(api_key=Secret("another-key"), base_url=f"{VENDORS}/{NAME}"), WorldWire(desk.world)
    )
    assert wrong.comment_ticket(comment("77")) == Retryable(
        "unauthorised", "Freshdesk refused the API key: give the agent's present one"
    )
    assert not wrong.check().is_ok
    assert desk.effects == []


def test_the_customers_answer_to_the_comment_is_not_closed_away(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.fault("update_ticket", Kind.LOST_REQUEST)
    command = comment(ticket)
    assert isinstance(attempt(desk, command), Unknown)
    desk.later(minutes=5)
    desk.settle(ticket=ticket, says=f"Wait! I meant another order.\n> Ref {command.step_key}")
    said = desk.freshdesk.comment_ticket(command)
    assert isinstance(said, Done)
    assert said.detail.endswith("the status is left, because the customer answered")
    assert desk.shown(ticket).fields["status"] == 2
    assert "rf_cancelled" in desk.shown(ticket).fields["tags"]
    assert len(desk.book("send_reply")) == 1


def test_a_customer_who_quotes_a_reference_has_not_been_told(desk: Desk) -> None:
    ticket = desk.ticket(conversations=[{"body": f"<p>Ref {CASE}.tell_ticket.1</p>", "is_incoming": True}])
    assert isinstance(desk.freshdesk.find_comment_ticket(comment(ticket)), NotFound)
    assert isinstance(desk.freshdesk.comment_ticket(comment(ticket)), Done)
    assert len(desk.book("send_reply")) == 1


def test_a_comment_behind_many_messages_is_found(desk: Desk) -> None:
    ticket = desk.ticket(conversations=[{"body": f"<p>{n}</p>"} for n in range(230)])
    desk.fault("create_reply")
    assert isinstance(settled(desk, comment(ticket)), Done | AlreadyDone)
    assert len(desk.book("send_reply")) == 1


# ---------------------------------------------------------------- without a ticket, or one that is gone


def test_a_case_without_a_ticket_gets_one(desk: Desk) -> None:
    said = desk.freshdesk.comment_ticket(comment(tags=("rf_cancelled", double.CANCEL_TAG)))
    (made,) = desk.book("create_ticket")
    assert isinstance(said, Done)
    assert said.reference.startswith(f"{made['id']}:")
    assert made["custom_fields"]["cf_rf_case"] == CASE
    assert made["custom_fields"]["cf_order_ref"] == "1042"
    # Not the tag that asks: the rule for new tickets cannot tell us from others.
    assert made["tags"] == ["rf_cancelled"]
    assert desk.deliveries == []
    assert [line["to"] for line in desk.book("send_reply")] == [[ADA]]


def test_the_next_comment_finds_the_ticket_before_the_search_does(desk: Desk) -> None:
    desk.freshdesk.comment_ticket(comment())
    desk.later(seconds=2)
    assert isinstance(desk.freshdesk.comment_ticket(comment(number=2)), Done)
    assert len(desk.book("create_ticket")) == 1


def test_a_comment_days_later_finds_the_ticket_by_search(desk: Desk) -> None:
    desk.freshdesk.comment_ticket(comment())
    desk.later(days=40)
    before = len(desk.asked)
    assert isinstance(desk.freshdesk.comment_ticket(comment(number=2)), Done)
    assert "list_tickets" not in desk.asked[before:]
    assert len(desk.book("create_ticket")) == 1


def test_a_new_ticket_among_many_that_changed_is_found(desk: Desk) -> None:
    desk.freshdesk.comment_ticket(comment())
    desk.later(seconds=2)
    desk.seed(tickets=[{**ASKING, "subject": str(number)} for number in range(120)])
    assert isinstance(desk.freshdesk.comment_ticket(comment(number=2)), Done)
    assert len(desk.book("create_ticket")) == 1


def test_without_a_customers_address_no_ticket_can_be_made(desk: Desk) -> None:
    said = desk.freshdesk.comment_ticket(comment(requester_email=""))
    assert isinstance(said, Permanent)
    assert said.code == "no_requester"
    assert desk.effects == []


@pytest.mark.parametrize("flag", ["is_spam", "is_deleted"])
def test_a_ticket_that_can_take_no_comments_is_followed_by_a_new_one(desk: Desk, flag: str) -> None:
    ticket = desk.ticket(**{flag: True})
    command = comment(ticket, requester_email="")
    said = desk.freshdesk.comment_ticket(command)
    (made,) = desk.book("create_ticket")
    assert isinstance(said, Done)
    assert made["id"] != ticket
    assert made["target"]["requester"] == desk.shown(ticket).fields["requester_id"]
    assert f"This continues ticket {ticket}." in desk.shown(made["id"]).fields["description"]
    assert desk.freshdesk.find_comment_ticket(command) == said
    # The next step of the case goes there too.
    desk.freshdesk.comment_ticket(comment(ticket, 2))
    assert len(desk.book("create_ticket")) == 1


def test_an_archived_ticket_is_followed_and_a_lost_answer_about_it_is_not_guessed(desk: Desk) -> None:
    ticket = desk.ticket(is_archived=True)
    desk.fault("create_ticket", Kind.LOST_REQUEST)
    assert isinstance(attempt(desk, comment(ticket)), Unknown)
    found = desk.freshdesk.find_comment_ticket(comment(ticket))
    assert found == Unknown(f"ticket {ticket} is gone, and what was written there with it")
    assert isinstance(desk.freshdesk.comment_ticket(comment(ticket)), Done)
    assert [len(desk.book(e)) for e in ("create_ticket", "send_reply")] == [1, 1]


def test_a_ticket_that_was_binned_after_the_comment_is_left_there(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.fault("update_ticket", Kind.LOST_REQUEST)
    assert isinstance(attempt(desk, comment(ticket)), Unknown)
    desk.settle(ticket=ticket, is_deleted=True)
    said = desk.freshdesk.comment_ticket(comment(ticket))
    assert isinstance(said, AlreadyDone)
    assert said.detail.endswith("tags and status are left, because the ticket is deleted or spam")
    assert desk.effects == ["send_reply"]


@pytest.mark.parametrize("status", [405, 409])
def test_a_ticket_that_is_binned_under_our_hands_is_a_no(desk: Desk, status: int) -> None:
    ticket = desk.ticket()
    desk.seed(habits={"trashed_status": status})
    sent = desk.freshdesk.http

    class Binning:
        def send(self, request: Request) -> Response:
            if request.method == "POST":
                desk.settle(ticket=ticket, is_deleted=True)
            return sent.send(request)

    binning = Freshdesk(Binning(), "cf_rf_case", "cf_order_ref", now=lambda: desk.now)
    assert isinstance(binning.comment_ticket(comment(ticket)), Permanent)
    assert desk.effects == []


def test_a_field_that_the_desk_does_not_have_is_named_before_anything_is_written(desk: Desk) -> None:
    lost = Freshdesk(desk.freshdesk.http, "cf_nowhere", "cf_order_ref", now=lambda: desk.now)
    said = lost.comment_ticket(comment())
    assert isinstance(said, Permanent | Retryable)
    assert desk.effects == []


# ---------------------------------------------------------------- the agent


def test_the_check_names_the_agent(desk: Desk) -> None:
    health = desk.freshdesk.check()
    assert (health.is_ok, health.detail) == (True, f"Freshdesk answers, as agent {double.AGENT_ID}")


@pytest.mark.parametrize("scope", [2, 3])
def test_an_agent_that_does_not_see_everything_will_not_do(desk: Desk, scope: int) -> None:
    desk.seed(agent={"ticket_scope": scope})
    assert not desk.freshdesk.check().is_ok
    assert "global ticket scope" in desk.freshdesk.check().detail


# ---------------------------------------------------------------- in


def delivered(desk: Desk, ticket: str, token: str = TOKEN) -> Delivery:
    vendor = desk.world.vendor(NAME)
    assert isinstance(vendor, double.Freshdesk)
    sent = vendor.sign(vendor.event_for(double.CANCEL_EVENT, ticket), "https://shop.example/hooks", token)
    return Delivery({n.lower(): v for n, v in sent.headers.items()}, sent.body)


def test_a_tagged_ticket_asks_for_a_cancellation(desk: Desk) -> None:
    ticket = desk.ticket()
    delivery = delivered(desk, ticket)
    verified = desk.inbound.verify(delivery, desk.now)
    assert isinstance(verified, Verified)
    assert verified.topic == double.CANCEL_EVENT
    assert desk.inbound.read_event(verified.topic, delivery.body) == CancellationRequested(
        order=OrderRef("shopify", number="1042"),
        reason="customer",
        requested_by=ADA,
        note=f"Freshdesk ticket {ticket}; Open; tags vip, {double.CANCEL_TAG}",
        ticket_id=ticket,
    )


def test_redeliveries_are_one_event_and_a_second_request_is_another(desk: Desk) -> None:
    ticket, other = desk.ticket(), desk.ticket()
    first = desk.inbound.verify(delivered(desk, ticket), desk.now)
    assert desk.inbound.verify(delivered(desk, ticket), desk.now + timedelta(days=1)) == first
    assert desk.inbound.verify(delivered(desk, other), desk.now) != first
    desk.later(days=3)
    desk.settle(ticket=ticket, change={"tags": []})
    desk.settle(ticket=ticket, change={"tags": [double.CANCEL_TAG]})
    assert desk.inbound.verify(delivered(desk, ticket), desk.now) != first


def test_a_wrong_token_is_refused(desk: Desk) -> None:
    assert isinstance(desk.inbound.verify(delivered(desk, desk.ticket(), "wrong"), desk.now), Refused)


def test_a_quote_in_a_value_breaks_the_body_and_the_delivery_is_kept(desk: Desk) -> None:
    delivery = delivered(desk, desk.ticket(custom_fields={"cf_order_ref": '10"42'}))
    verified = desk.inbound.verify(delivery, desk.now)
    assert isinstance(verified, Verified)
    with pytest.raises(MalformedError, match="body: is no JSON object"):
        desk.inbound.read_event(verified.topic, delivery.body)


def test_a_value_that_smuggles_a_field_in_is_not_believed(desk: Desk) -> None:
    order_ref = '1042", "order_ref": "2001'
    delivery = delivered(desk, desk.ticket(custom_fields={"cf_order_ref": order_ref}))
    assert json.loads(delivery.body)["order_ref"] == "2001"
    with pytest.raises(MalformedError, match="order_ref: is there twice"):
        desk.inbound.read_event(double.CANCEL_EVENT, delivery.body)


def test_our_own_updates_set_no_rule_off(desk: Desk) -> None:
    """The rule is on the tag that we never set, and its condition leaves our agent out."""
    desk.world.webhooks.subscribe(NAME, Subscription("https://shop.example/hooks/freshdesk", TOKEN))
    ticket = desk.ticket()
    desk.freshdesk.comment_ticket(comment(ticket, tags=(double.CANCEL_TAG, "rf_cancelled")))
    desk.freshdesk.comment_ticket(comment(number=2, tags=(double.CANCEL_TAG,)))
    desk.settle(arrives=ASKING)
    desk.world.webhooks.wait_idle()
    assert len(desk.deliveries) == 1
