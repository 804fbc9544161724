"""Zendesk's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.zendesk import (
    TRIGGERED,
    Credentials,
    Zendesk,
    ZendeskInbound,
    build,
    build_inbound,
    trigger_body,
)
from refundflow.domain.commands import CommentTicket
from refundflow.domain.facts import OrderRef
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.sandbox import zendesk as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request, Response
from tests.support.world_http import VENDORS, WorldWire

NAME = "zendesk"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
HOOK = "https://refundflow.example/hooks/zendesk"
SECRET = "practice-webhook-secret"
CREDENTIALS = Credentials(
    email=double.EMAIL,
    api_token=Secret(double.API_TOKEN),
    webhook_secret=Secret(SECRET),
    agent_id=str(double.AGENT_ID),
    order_field_id=str(double.ORDER_FIELD),
    base_url=f"{VENDORS}/{NAME}",
)


class Shop:
    """A practice desk, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.deliveries: list[Delivery] = []
        self.world = World([double.Zendesk], clock=lambda: self.now, send=self.take)
        self.wire = WorldWire(self.world)
        self.zendesk: Zendesk = build(CREDENTIALS, self.wire)
        self.inbound: ZendeskInbound = build_inbound(CREDENTIALS, "shopify")

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append(Delivery({n.lower(): v for n, v in headers.items()}, body))
        return 200

    def seed(self, **more: Any) -> None:
        self.world.seed({NAME: more})

    def ticket(self, **more: Any) -> str:
        described = {"comment": "Please cancel my order.", "subject": "Order 1001", **more}
        requester = {"name": "Ada Buyer", "email": "ada@customers.example"}
        made = self.world.seed({NAME: {"tickets": [{"requester": requester, **described}]}})
        return str(made[NAME]["tickets"][0])

    def person(self, ticket: str, **does: Any) -> Record:
        """What a person at the desk does, a second later."""
        self.later()
        return self.world.settle(NAME, {"ticket": int(ticket), **does})[0]

    def later(self, seconds: float = 1.0) -> None:
        self.now += timedelta(seconds=seconds)

    def fault(self, operation: str, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def book(self, effect: str) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    def said(self) -> list[tuple[str, Any]]:
        """Every comment of ours: the ticket it is on, and the step that its audit names."""
        lines = [line for line in self.world.vendor(NAME).book.lines() if "text" in line]
        return [(line["target"]["ticket"], line["metadata"]["refundflow_op"]) for line in lines]

    def tags(self, ticket: str) -> list[str]:
        tags: list[str] = self.world.settle(NAME, {"ticket": int(ticket), "is_archived": False})[0]["tags"]
        return tags

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def subscribe(self) -> None:
        self.world.webhooks.subscribe(NAME, Subscription(HOOK, SECRET))

    def readings(self) -> list[Reading | str]:
        """What came of the deliveries so far, in order; of one that is malformed the field at fault."""
        self.world.webhooks.wait_idle()
        return [self.read(delivery) for delivery in self.deliveries]

    def read(self, delivery: Delivery) -> Reading | str:
        verified = self.inbound.verify(delivery, self.now)
        assert isinstance(verified, Verified), verified
        try:
            return self.inbound.read_event(verified.topic, delivery.body)
        except MalformedError as error:
            return error.field


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def comment(number: int = 1, attempt: int = 1, **changes: Any) -> CommentTicket:
    step_key = mint_step_key(CASE, "notify", number)
    made = CommentTicket(
        step_key=step_key,
        key=wire_key(step_key, attempt),
        case_id=CASE,
        order_number="1001",
        template="refund_sent",
        subject="Your refund",
        text="Dear Ada,\n\n42.50 EUR are on their way.",
        requester_email="ada@customers.example",
        requester_name="Ada Buyer",
        is_public=True,
        tags=("refundflow", "refundflow-complete"),
    )
    return replace(made, **changes)


def reference(outcome: Outcome | NotFound) -> str:
    assert isinstance(outcome, Done | AlreadyDone), outcome
    return outcome.reference


def code_of(outcome: Any) -> str:
    assert isinstance(outcome, Permanent | Retryable), outcome
    return outcome.code


# ---------------------------------------------------------------- the effect, once


def test_an_agent_is_checked(shop: Shop) -> None:
    assert shop.zendesk.check().is_ok
    wrong = build(replace(CREDENTIALS, api_token=Secret("guessed")), shop.wire)
    assert not wrong.check().is_ok


def test_a_comment_is_written_on_the_ticket_that_asked(shop: Shop) -> None:
    number = shop.ticket(tags=["vip", double.TAG, double.SENT_TAG], external_id="shop-7")
    command = comment(ticket_id=number, status="solved")
    assert reference(shop.zendesk.comment_ticket(command)) == number
    [line] = shop.book("add_comment")
    assert (line["target"]["ticket"], line["public"], line["author"]) == (number, True, double.AGENT_ID)
    assert line["text"] == "Dear Ada,\n42.50 EUR are on their way."
    assert line["metadata"] == {"refundflow_op": command.step_key, "refundflow_case": CASE}
    [change] = shop.book("update_ticket")
    assert (change["status"], change["changes"]["assignee_id"]) == ("solved", double.AGENT_ID)
    assert shop.tags(number) == ["vip", double.TAG, double.SENT_TAG, "refundflow", "refundflow-complete"]
    assert reference(shop.zendesk.find_comment_ticket(command)) == number


def test_a_note_stays_inside_and_a_comment_goes_out_whatever_the_ticket_began_with(shop: Shop) -> None:
    for is_first_public in (True, False):
        number = shop.ticket(public=is_first_public)
        for step, is_public in ((1, False), (2, True)):
            shop.zendesk.comment_ticket(comment(step, ticket_id=number, is_public=is_public))
    assert [line["public"] for line in shop.book("add_comment")] == [False, True, False, True]


def test_a_case_has_one_ticket_however_many_steps_it_has(shop: Shop) -> None:
    first = reference(shop.zendesk.comment_ticket(comment(1)))
    second = reference(shop.zendesk.comment_ticket(comment(2, status="solved")))
    assert first == second
    [made] = shop.book("create_ticket")
    assert (made["reference"], made["requester"], made["public"]) == (CASE, "ada@customers.example", True)
    assert made["tags"] == ["refundflow", "refundflow-complete"]
    assert [step.rpartition(".")[2] for _, step in shop.said()] == ["1", "2"]
    for number in (1, 2):
        assert reference(shop.zendesk.find_comment_ticket(comment(number))) == first


def test_a_repeat_finds_what_it_did(shop: Shop) -> None:
    for command in (comment(1), comment(2, ticket_id=shop.ticket())):
        done = shop.zendesk.comment_ticket(command)
        again = shop.zendesk.comment_ticket(command)
        assert isinstance(done, Done)
        assert isinstance(again, AlreadyDone)
        assert done.reference == again.reference
    assert len(shop.said()) == 2


# ---------------------------------------------------------------- when the wire or the vendor fails


@pytest.mark.parametrize("is_new", [True, False])
def test_a_lost_answer_is_found_and_the_comment_is_there_once(shop: Shop, is_new: bool) -> None:
    command = comment(ticket_id="" if is_new else shop.ticket())
    shop.fault("create_ticket" if is_new else "update_ticket")
    with pytest.raises(MaybeSentError):
        shop.zendesk.comment_ticket(command)
    assert isinstance(shop.zendesk.find_comment_ticket(command), Done)
    assert isinstance(shop.zendesk.comment_ticket(command), AlreadyDone)
    assert len(shop.said()) == 1


@pytest.mark.parametrize("is_new", [True, False])
def test_a_lost_request_leaves_nothing_and_is_sent_again(shop: Shop, is_new: bool) -> None:
    command = comment(ticket_id="" if is_new else shop.ticket())
    shop.fault("create_ticket" if is_new else "update_ticket", Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        shop.zendesk.comment_ticket(command)
    assert isinstance(shop.zendesk.find_comment_ticket(command), NotFound)
    assert isinstance(shop.zendesk.comment_ticket(command), Done)
    assert len(shop.said()) == 1


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.HTML])
@pytest.mark.parametrize("is_after_effect", [True, False])
def test_an_answer_that_says_nothing_is_unknown_until_it_is_looked_up(
    shop: Shop, is_new: bool, kind: Kind, is_after_effect: bool
) -> None:
    command = comment(ticket_id="" if is_new else shop.ticket())
    operation = "create_ticket" if is_new else "update_ticket"
    shop.fault(operation, kind, status=500, is_after_effect=is_after_effect)
    assert isinstance(shop.zendesk.comment_ticket(command), Unknown)
    assert isinstance(shop.zendesk.find_comment_ticket(command), Done if is_after_effect else NotFound)
    assert isinstance(shop.zendesk.comment_ticket(command), AlreadyDone if is_after_effect else Done)
    assert len(shop.said()) == 1


def test_a_creation_that_the_list_does_not_show_is_answered_from_the_key(shop: Shop) -> None:
    """As for a worker that looked before another one's write: the same request again makes nothing."""
    first = reference(shop.zendesk.comment_ticket(comment()))
    shop.person(first, is_archived=True)
    again = shop.zendesk.comment_ticket(comment())
    assert again == AlreadyDone(first, "a new ticket")
    assert len(shop.book("create_ticket")) == 1


def test_two_steps_that_both_find_no_ticket_make_one(shop: Shop) -> None:
    first = reference(shop.zendesk.comment_ticket(comment(1)))
    shop.person(first, is_archived=True)  # the second one's look is older than the first one's write
    assert code_of(shop.zendesk.comment_ticket(comment(2))) == "ticket_exists"
    shop.person(first, is_archived=False)
    assert reference(shop.zendesk.comment_ticket(comment(2))) == first
    assert len(shop.book("create_ticket")) == 1
    assert len(shop.said()) == 2


class Meanwhile:
    """An `Http` on which something happens just before the first call of a method and an ending."""

    def __init__(self, http: Any, method: str, ending: str, act: Any) -> None:
        self.http, self.method, self.ending, self.act = http, method, ending, act

    def send(self, request: Request) -> Response:
        if self.act is not None and request.method == self.method and request.path.endswith(self.ending):
            act, self.act = self.act, None
            act()
        answer: Response = self.http.send(request)
        return answer


@pytest.mark.parametrize("before", [("GET", "/audits"), ("PUT", "")], ids=["the look", "the write"])
def test_two_workers_on_one_step_write_once(shop: Shop, before: tuple[str, str]) -> None:
    number = shop.ticket(tags=["refundflow", "refundflow-complete"])
    command = comment(ticket_id=number)

    def other() -> None:
        shop.later()
        assert isinstance(shop.zendesk.comment_ticket(command), Done)

    slow = replace(shop.zendesk, http=Meanwhile(shop.zendesk.http, before[0], before[1] or number, other))
    said = slow.comment_ticket(command)
    assert isinstance(said, AlreadyDone) or code_of(said) == "conflict"
    assert isinstance(shop.zendesk.comment_ticket(command), AlreadyDone)
    assert len(shop.said()) == 1


def test_a_person_who_changes_the_ticket_meanwhile_makes_us_come_again(shop: Shop) -> None:
    number = shop.ticket(tags=["refundflow", "refundflow-complete"])
    act = lambda: shop.person(number, comment="I am on it.")  # noqa: E731 (one act, named for what it is)
    slow = replace(shop.zendesk, http=Meanwhile(shop.zendesk.http, "PUT", number, act))
    assert slow.comment_ticket(comment(ticket_id=number)) == Retryable(
        "conflict", "somebody changed the ticket between our look and our update", 2.0
    )
    assert isinstance(shop.zendesk.comment_ticket(comment(ticket_id=number)), Done)
    assert len(shop.said()) == 1


def test_a_sequence_that_broke_off_after_the_tags_is_continued(shop: Shop) -> None:
    number = shop.ticket()
    command = comment(ticket_id=number)
    shop.fault("add_tags")
    with pytest.raises(MaybeSentError):
        shop.zendesk.comment_ticket(command)
    assert isinstance(shop.zendesk.find_comment_ticket(command), NotFound)
    assert isinstance(shop.zendesk.comment_ticket(command), Done)
    assert len(shop.book("update_tags")) == 1
    assert len(shop.said()) == 1


@pytest.mark.parametrize(
    "operation", ["get_ticket", "add_tags", "list_audits", "update_ticket", "list_tickets", "create_ticket"]
)
def test_throttled_calls_are_retryable_after_the_vendors_hint(shop: Shop, operation: str) -> None:
    is_new = operation in ("list_tickets", "create_ticket")
    command = comment(ticket_id="" if is_new else shop.ticket())
    shop.fault(operation, Kind.STATUS, status=429, headers={"Retry-After": "17"})
    said = shop.zendesk.comment_ticket(command)
    assert said == Retryable("throttled", "Zendesk asks us to slow down", 17.0)
    assert shop.said() == []
    assert isinstance(shop.zendesk.comment_ticket(command), Done)
    assert len(shop.said()) == 1


def test_more_updates_of_one_ticket_than_the_desk_allows_wait(shop: Shop) -> None:
    number = shop.ticket(tags=["refundflow", "refundflow-complete"])
    for step in range(1, double.UPDATES_MOST + 1):
        shop.zendesk.comment_ticket(comment(step, ticket_id=number))
    held = shop.zendesk.comment_ticket(comment(99, ticket_id=number))
    assert isinstance(held, Retryable)
    assert held.code == "throttled"
    assert held.after_s is not None
    shop.later(held.after_s)
    assert isinstance(shop.zendesk.comment_ticket(comment(99, ticket_id=number)), Done)


@pytest.mark.parametrize("operation", ["get_ticket", "add_tags", "list_audits", "update_ticket"])
def test_refused_credentials_are_the_houses_fault(shop: Shop, operation: str) -> None:
    command = comment(ticket_id=shop.ticket())
    shop.fault(operation, Kind.REFUSE_AUTH)
    assert code_of(shop.zendesk.comment_ticket(command)) == "unauthorised"
    assert shop.said() == []


def test_an_access_token_needs_the_scope_that_reaches_the_audits(shop: Shop) -> None:
    bearer = build(
        replace(CREDENTIALS, api_token=Secret(), access_token=Secret(double.ACCESS_TOKEN)), shop.wire
    )
    command = comment(ticket_id=shop.ticket())
    shop.seed(scopes=["tickets:read", "tickets:write"])
    refused = bearer.comment_ticket(command)
    assert isinstance(refused, Retryable)
    assert "tickets:read does not reach the audits" in refused.reason
    assert isinstance(bearer.find_comment_ticket(command), Unknown)
    shop.seed(scopes=["read", "write"])
    assert isinstance(bearer.comment_ticket(command), Done)


def test_a_refusal_is_final_and_said_in_the_vendors_words(shop: Shop) -> None:
    shop.fault("update_ticket", Kind.REFUSE, code="Size: is not valid", times=2)
    command = comment(ticket_id=shop.ticket())
    assert shop.zendesk.comment_ticket(command) == Permanent(
        "RecordInvalid", "Record validation errors: Size: is not valid"
    )
    assert shop.said() == []
    assert isinstance(shop.zendesk.find_comment_ticket(command), NotFound)


# ---------------------------------------------------------------- tickets that are closed, gone or many


def test_a_closed_ticket_is_followed_once_and_the_follow_up_takes_the_rest(shop: Shop) -> None:
    number = shop.ticket(status="closed", tags=[double.TAG, double.SENT_TAG], external_id="shop-7")
    first = comment(1, ticket_id=number)
    shop.fault("create_ticket")
    with pytest.raises(MaybeSentError):
        shop.zendesk.comment_ticket(first)
    follow_up = reference(shop.zendesk.find_comment_ticket(first))
    assert follow_up != number
    assert reference(shop.zendesk.comment_ticket(first)) == follow_up
    assert reference(shop.zendesk.comment_ticket(comment(2, ticket_id=number))) == follow_up
    assert reference(shop.zendesk.find_comment_ticket(comment(2, ticket_id=number))) == follow_up
    [made] = shop.book("create_ticket")
    assert (made["target"]["followup_of"], made["reference"]) == (number, CASE)
    assert made["requester"] == "ada@customers.example"
    assert double.TAG not in made["tags"]
    assert len(shop.said()) == 2


def test_a_ticket_that_is_closed_between_look_and_write_is_followed(shop: Shop) -> None:
    number = shop.ticket(tags=["refundflow", "refundflow-complete"])
    act = lambda: shop.person(number, status="closed")  # noqa: E731 (one act, named for what it is)
    slow = replace(shop.zendesk, http=Meanwhile(shop.zendesk.http, "PUT", number, act))
    assert code_of(slow.comment_ticket(comment(ticket_id=number))) == "closed_meanwhile"
    assert reference(shop.zendesk.comment_ticket(comment(ticket_id=number))) != number
    assert len(shop.said()) == 1


def test_the_cases_solved_ticket_takes_comments_until_the_desk_closes_it(shop: Shop) -> None:
    first = reference(shop.zendesk.comment_ticket(comment(1, status="solved")))
    shop.later(3600)
    assert reference(shop.zendesk.comment_ticket(comment(2))) == first
    shop.later(100 * 3600)
    second = reference(shop.zendesk.comment_ticket(comment(3)))
    assert second != first
    assert [step.rpartition(".")[2] for _, step in shop.said()] == ["1", "2", "3"]
    for number, ticket in ((1, first), (2, first), (3, second)):
        assert reference(shop.zendesk.find_comment_ticket(comment(number))) == ticket


def test_a_deleted_ticket_is_for_a_person(shop: Shop) -> None:
    number = shop.ticket()
    shop.person(number, is_deleted=True)
    assert code_of(shop.zendesk.comment_ticket(comment(ticket_id=number))) == "ticket_gone"
    found = shop.zendesk.find_comment_ticket(comment(ticket_id=number))
    assert isinstance(found, NotFound)
    assert found.conclusive_after_s is None


def test_two_open_tickets_of_a_case_are_for_a_person(shop: Shop) -> None:
    numbers = [shop.ticket(external_id=CASE) for _ in range(2)]
    assert code_of(shop.zendesk.comment_ticket(comment())) == "ambiguous"
    assert shop.said() == []
    shop.person(numbers[1], status="closed")
    assert reference(shop.zendesk.comment_ticket(comment())) == numbers[0]


def test_a_long_talk_is_read_to_its_end(shop: Shop) -> None:
    number = shop.ticket(tags=["refundflow", "refundflow-complete"])
    shop.zendesk.comment_ticket(comment(1, ticket_id=number))
    for step in range(230):
        shop.person(number, comment=f"And another thing, number {step}.")
    shop.later(700)
    late = comment(2, ticket_id=number)
    assert isinstance(shop.zendesk.find_comment_ticket(late), NotFound)
    assert isinstance(shop.zendesk.comment_ticket(late), Done)
    for step in (1, 2):
        assert isinstance(shop.zendesk.find_comment_ticket(comment(step, ticket_id=number)), Done)
    assert len(shop.said()) == 2


# ---------------------------------------------------------------- what is written


def test_braces_in_a_customers_words_are_shown_and_not_filled_in(shop: Shop) -> None:
    for html in ("", "<p>Dear {{ticket.requester.email}} {{{ticket.id}}}</p>"):
        shop.zendesk.comment_ticket(
            comment(
                len(html),
                ticket_id=shop.ticket(),
                text="Dear {{ticket.requester.email}} {{{ticket.id}}}",
                html=html,
            )
        )
    for line in shop.book("add_comment"):
        shown = line["text"].replace("\u2060", "")
        assert shown == "Dear {{ticket.requester.email}} {{{ticket.id}}}"


def test_a_ticket_of_our_own_names_the_order_in_its_field(shop: Shop) -> None:
    number = reference(shop.zendesk.comment_ticket(comment(status="pending")))
    [made] = shop.book("create_ticket")
    assert made["status"] == "pending"
    shop.subscribe()
    shop.person(number, remove_tags=["refundflow"], add_tags=[double.TAG])
    [reading] = shop.readings()
    assert isinstance(reading, CancellationRequested)
    assert reading.order == OrderRef("shopify", number="1001")


# ---------------------------------------------------------------- webhooks


def test_a_marked_ticket_is_a_request_and_our_answer_to_it_is_none(shop: Shop) -> None:
    shop.subscribe()
    number = shop.ticket(custom_fields={double.ORDER_FIELD: "#1001"})
    shop.person(number, add_tags=[double.TAG])
    shop.zendesk.comment_ticket(comment(ticket_id=number))
    shop.person(number, comment="Thank you!")
    [reading] = shop.readings()
    assert reading == CancellationRequested(
        OrderRef("shopify", number="#1001"),
        requested_by="ada.agent@practice.example",
        note=f"asked in Zendesk ticket {number}",
        ticket_id=number,
    )


def test_a_marked_ticket_without_an_order_number_is_for_a_person(shop: Shop) -> None:
    shop.subscribe()
    shop.person(shop.ticket(), add_tags=[double.TAG])
    shop.person(shop.ticket(custom_fields={double.ORDER_FIELD: "see below"}), add_tags=[double.TAG])
    assert shop.readings() == ["order", "order"]


@pytest.mark.parametrize("body", [None, trigger_body(str(double.ORDER_FIELD))], ids=["as found", "ours"])
def test_an_unguarded_trigger_does_not_loop(shop: Shop, body: Record | None) -> None:
    shop.seed(triggers=[double.LOOPING_TRIGGER], **({"body": body} if body else {}))
    shop.subscribe()
    number = shop.ticket(custom_fields={double.ORDER_FIELD: "1001"})
    shop.person(number, add_tags=[double.TAG])
    for step in (1, 2):
        shop.later()
        shop.zendesk.comment_ticket(comment(step, ticket_id=number, status="solved"))
    shop.person(number, comment="Thank you!")
    kinds = [type(reading) for reading in shop.readings()]
    assert kinds[0] is CancellationRequested
    assert set(kinds[1:]) == {Irrelevant}
    assert len(kinds) == 5  # the mark, our tags, our two comments, the person's thanks


def test_a_trigger_that_does_not_tell_who_updated_does_not_loop_either(shop: Shop) -> None:
    body = {n: v for n, v in double.BODY.items() if n != "updated_by"}
    shop.seed(triggers=[double.LOOPING_TRIGGER], body=body)
    shop.subscribe()
    number = shop.ticket(custom_fields={double.ORDER_FIELD: "1001"})
    shop.person(number, add_tags=[double.TAG])
    shop.zendesk.comment_ticket(comment(ticket_id=number))
    first, *others = shop.readings()
    assert isinstance(first, CancellationRequested)
    assert (first.requested_by, first.is_proven) == ("ada@customers.example", False)
    assert {type(reading) for reading in others} == {Irrelevant}


def test_a_mark_that_the_customer_set_is_not_proven(shop: Shop) -> None:
    shop.seed(users=[{"name": "Ada Buyer", "email": "ada@customers.example", "id": 7001}])
    shop.subscribe()
    number = shop.ticket(custom_fields={double.ORDER_FIELD: "1001"})
    shop.person(number, author=7001, add_tags=[double.TAG])
    [reading] = shop.readings()
    assert isinstance(reading, CancellationRequested)
    assert (reading.requested_by, reading.is_proven) == ("ada@customers.example", False)


@pytest.mark.parametrize("keeps_invocation_id", [True, False])
def test_a_delivery_again_is_the_same_event_and_another_mark_is_another(
    shop: Shop, keeps_invocation_id: bool
) -> None:
    shop.seed(habits={"keeps_invocation_id": keeps_invocation_id})
    shop.subscribe()
    number = shop.ticket(custom_fields={double.ORDER_FIELD: "1001"})
    shop.person(number, add_tags=[double.TAG])
    shop.world.webhooks.wait_idle()
    event = shop.world.vendor(NAME).event_for(TRIGGERED, number)
    shop.later(30)
    shop.world.webhooks.send_now(NAME, event, HOOK, SECRET)
    shop.person(number, remove_tags=[double.TAG, double.SENT_TAG])
    shop.person(number, add_tags=[double.TAG])
    shop.world.webhooks.wait_idle()
    ids = []
    for delivery in shop.deliveries:
        verified = shop.inbound.verify(delivery, shop.now)
        assert isinstance(verified, Verified)
        ids.append(verified.source_event_id)
    assert ids[0] == ids[1] != ids[2]


def test_ticket_events_say_that_the_number_is_missing_and_nothing_else(shop: Shop) -> None:
    shop.seed(habits={"is_event_webhook": True})
    shop.subscribe()
    number = shop.ticket(custom_fields={double.ORDER_FIELD: "1001"})
    shop.person(number, add_tags=[double.TAG])
    shop.zendesk.comment_ticket(comment(ticket_id=number, status="pending"))
    first, *others = shop.readings()
    assert first == "detail.custom_fields"
    assert {type(reading) for reading in others} == {Irrelevant}


def test_a_delivery_under_another_secret_or_too_old_is_refused(shop: Shop) -> None:
    shop.subscribe()
    shop.person(shop.ticket(), add_tags=[double.TAG])
    shop.world.webhooks.wait_idle()
    [delivery] = shop.deliveries
    for secret in ("another", ""):
        strange = build_inbound(replace(CREDENTIALS, webhook_secret=Secret(secret)), "shopify")
        assert isinstance(strange.verify(delivery, shop.now), Refused)
    rotated = build_inbound(replace(CREDENTIALS, webhook_secret=Secret(f"new,{SECRET}")), "shopify")
    assert isinstance(rotated.verify(delivery, shop.now), Verified)
    assert isinstance(shop.inbound.verify(delivery, shop.now + timedelta(minutes=6)), Refused)
