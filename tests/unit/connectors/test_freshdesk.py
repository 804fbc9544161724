"""Freshdesk: what is written to a ticket and in which order, how it is recognised again, and what a rule's webhook says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Idempotency
from refundflow.connectors.freshdesk import (
    ACCESS,
    ADVICE,
    SPEC,
    Comment,
    Credentials,
    Freshdesk,
    FreshdeskInbound,
    build,
    build_inbound,
    comment_in,
    comment_request,
    read_change,
    read_comment,
    read_made,
    to_html,
)
from refundflow.domain.commands import CommentTicket
from refundflow.domain.facts import OrderRef
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Response
from refundflow.transport.redact import Redaction
from tests.support.fake_http import Answer, FakeHttp, FakeWire, answer

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.tell_ticket.1")
COMMAND = CommentTicket(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    order_number="1042",
    template="order_cancelled",
    subject="Your order 1042 is cancelled",
    text="Dear Ada,\n\nyour order is cancelled.\nGood-bye",
    ticket_id="77",
    requester_email="ada@shop.example",
    requester_name="Ada Lovelace",
    is_public=True,
    tags=("rf_cancelled",),
    status="solved",
)
NOBODY = replace(COMMAND, ticket_id="")
NOTE = replace(COMMAND, is_public=False)
READ = "GET /api/v2/tickets/77"
TALK = "GET /api/v2/tickets/77/conversations"
REPLY = "POST /api/v2/tickets/77/reply"
CHANGE = "PUT /api/v2/tickets/77"
SEARCH = "GET /api/v2/search/tickets"
LIST = "GET /api/v2/tickets"


def desk(*answers: Answer) -> tuple[Freshdesk, FakeHttp]:
    vendor = FakeHttp(*answers)
    return Freshdesk(vendor, "cf_rf_case", "cf_order_ref", "cancellation_request", "432", lambda: NOW), vendor


def ticket(**more: Any) -> Response:
    return answer(200, shown(**more))


def shown(**more: Any) -> dict[str, Any]:
    fields = {
        "id": 77,
        "status": 2,
        "tags": ["vip"],
        "custom_fields": {"cf_rf_case": CASE},
        "requester_id": 9,
    }
    return {**fields, **more}


def message(body: str | None = f"<p>Hello</p><p>Ref {STEP}</p>", **more: Any) -> dict[str, Any]:
    return {"id": 501, "body": body, "incoming": False, "private": False, "source": 0, **more}


def page(*messages: Any, more: bool = False) -> Response:
    return answer(200, list(messages), {"link": '<https://x.example>; rel="next"'} if more else {})


REPLIED = answer(201, {"id": 501, "replied_to": ["ada@shop.example"]})


# ---------------------------------------------------------------- writing


def test_a_comment_is_looked_for_then_written_then_the_ticket_is_changed() -> None:
    freshdesk, vendor = desk(ticket(), page(), REPLIED, ticket(tags=["vip", "seen"]), answer(200, {"id": 77}))
    assert freshdesk.comment_ticket(COMMAND) == Done("77:501", "reply on ticket 77; mailed to 1")
    assert vendor.calls == [READ, TALK, REPLY, READ, CHANGE]
    assert vendor.requests[2].json == {
        "body": f"<p>Dear Ada,</p><p>your order is cancelled.<br>Good-bye</p><p>Ref {STEP}</p>"
    }
    assert vendor.requests[4].json == {"status": 4, "tags": ["vip", "seen", "rf_cancelled"]}


def test_a_note_says_that_it_is_private() -> None:
    request = comment_request(NOTE, 77)
    assert request.path == "/api/v2/tickets/77/notes"
    assert request.json["private"] is True
    assert set(request.json) == {"body", "private"}


@pytest.mark.parametrize(
    ("_case", "text", "body"),
    [
        ("markup", "<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("quotes and ampersands", "\"a\" & 'b'", "<p>&quot;a&quot; &amp; &#x27;b&#x27;</p>"),
        ("placeholders", "{{ticket.requester.email}} {% if x %}",
         "<p>&#123;&#123;ticket.requester.email}} &#123;% if x %}</p>"),
        ("lines and paragraphs", "a\r\nb\n \n\n c\n", "<p>a<br>b</p><p>c</p>"),
        ("nothing", "", "<p></p>"),
    ],
)  # fmt: skip
def test_text_stays_text(_case: str, text: str, body: str) -> None:
    assert to_html(text) == body


def test_html_that_is_written_already_goes_as_it_is_but_for_placeholders() -> None:
    request = comment_request(replace(COMMAND, html="<p>Dear <b>{{x}}</b></p>"), 77)
    assert request.json["body"] == f"<p>Dear <b>&#123;&#123;x}}}}</b></p><p>Ref {STEP}</p>"


def test_a_comment_that_is_there_is_not_written_again() -> None:
    freshdesk, vendor = desk(ticket(), page(message()), answer(200, {"id": 77}))
    assert freshdesk.comment_ticket(COMMAND) == Done("77:501", "reply on ticket 77")
    assert vendor.calls == [READ, TALK, CHANGE]
    freshdesk, vendor = desk(ticket(status=4, tags=["RF_Cancelled"]), page(message()))
    assert freshdesk.comment_ticket(COMMAND) == AlreadyDone("77:501", "reply on ticket 77")
    assert vendor.calls == [READ, TALK]


@pytest.mark.parametrize(
    ("_case", "changes", "fields", "sent"),
    [
        ("only a tag", {"status": ""}, {}, {"tags": ["vip", "rf_cancelled"]}),
        ("only a status", {"tags": ()}, {}, {"status": 4}),
        ("open", {"tags": (), "status": "open"}, {"status": 4}, {"status": 2}),
        ("pending", {"tags": (), "status": "pending"}, {}, {"status": 3}),
        ("a custom status", {"tags": ()}, {"status": 8}, {"status": 4}),
        ("closed is opened where that is asked", {"tags": (), "status": "open"}, {"status": 5}, {"status": 2}),
        ("closed is solved enough", {"tags": ()}, {"status": 5}, None),
        ("everything is so", {}, {"status": 4, "tags": ["rf_cancelled"]}, None),
        ("never the tag that asks", {"status": "", "tags": ("Cancellation_Request",)}, {}, None),
        ("the same tag twice", {"status": "", "tags": ("a", "a")}, {}, {"tags": ["vip", "a"]}),
        ("a ticket without a case becomes the case's", {"status": "", "tags": ()},
         {"custom_fields": {"cf_rf_case": None}}, {"custom_fields": {"cf_rf_case": CASE}}),
        ("a ticket of another case stays its", {"status": "", "tags": ()}, {"custom_fields": {"cf_rf_case": "RF-1"}}, None),
        ("a ticket whose fields are not shown", {"status": "", "tags": ()}, {"custom_fields": None}, None),
        ("spam", {}, {"spam": True}, None),
        ("deleted", {}, {"deleted": True}, None),
    ],
)  # fmt: skip
def test_only_what_the_ticket_lacks_is_changed(
    _case: str, changes: dict[str, Any], fields: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    freshdesk, vendor = desk(
        ticket(), page(), REPLIED, ticket(**fields), *([answer(200, {"id": 77})] if sent else [])
    )
    assert isinstance(freshdesk.comment_ticket(replace(COMMAND, **changes)), Done)
    assert (vendor.requests[4].json if sent else None) == sent
    assert len(vendor.requests) == (5 if sent else 4)


def test_a_new_ticket_carries_the_case_and_the_order() -> None:
    made = answer(201, shown(id=78, tags=["rf_cancelled"]))
    freshdesk, vendor = desk(
        answer(200, {"total": 0, "results": []}), answer(200, []), made, REPLIED, ticket(id=78, tags=["rf_cancelled"]),
        answer(200, {"id": 78}),
    )  # fmt: skip
    assert freshdesk.comment_ticket(NOBODY) == Done("78:501", "reply on ticket 78; mailed to 1")
    assert vendor.calls == [
        SEARCH, LIST, "POST /api/v2/tickets", "POST /api/v2/tickets/78/reply", "GET /api/v2/tickets/78",
        "PUT /api/v2/tickets/78",
    ]  # fmt: skip
    assert vendor.requests[0].params == (("query", f"\"cf_rf_case:'{CASE}'\""),)
    assert vendor.requests[1].params == (
        ("updated_since", "2026-11-25T11:00:00Z"),
        ("order_by", "created_at"),
        ("order_type", "desc"),
        ("per_page", "100"),
        ("page", "1"),
    )
    assert vendor.requests[2].json == {
        "subject": "Your order 1042 is cancelled",
        "description": f"<p>Cancellation of order 1042.</p><p>Case {CASE}</p>",
        "email": "ada@shop.example",
        "name": "Ada Lovelace",
        "status": 2,
        "priority": 2,
        "source": 2,
        "tags": ["rf_cancelled"],
        "custom_fields": {"cf_rf_case": CASE, "cf_order_ref": "1042"},
    }
    assert vendor.requests[5].json == {"status": 4}


def test_a_case_with_two_tickets_is_told_on_the_first_that_is_not_closed() -> None:
    found = answer(200, {"total": 3, "results": [{"id": 79}, {"id": 77}, {"id": 78}]})
    freshdesk, vendor = desk(
        found, ticket(status=5), ticket(id=78), ticket(id=79), page(), page(), page(), REPLIED,
        ticket(id=78, status=4, tags=["rf_cancelled"]),
    )  # fmt: skip
    assert isinstance(freshdesk.comment_ticket(NOBODY), Done)
    assert vendor.calls[-2:] == ["POST /api/v2/tickets/78/reply", "GET /api/v2/tickets/78"]


def test_what_the_search_says_counts_only_when_the_ticket_says_so_too() -> None:
    found = answer(200, {"total": 1, "results": [{"id": 77}]})
    freshdesk, vendor = desk(found, ticket(custom_fields={"cf_rf_case": f"{CASE}X"}), answer(200, []))
    assert freshdesk.find_comment_ticket(NOBODY) == NotFound(600.0, "no ticket carries our case id")
    assert vendor.calls == [SEARCH, READ, LIST]


@pytest.mark.parametrize(
    ("changes", "code"), [({"ticket_id": "77/../78"}, "no_ticket_id"), ({"status": "on-hold"}, "no_status")]
)
def test_a_command_that_cannot_be_sent_calls_nothing(changes: dict[str, str], code: str) -> None:
    freshdesk, vendor = desk()
    for said in (
        freshdesk.comment_ticket(replace(COMMAND, **changes)),  # type: ignore[arg-type] # texts
        freshdesk.find_comment_ticket(replace(COMMAND, **changes)),  # type: ignore[arg-type] # texts
    ):
        assert isinstance(said, Permanent)
        assert said.code == code
    assert vendor.requests == []


# ---------------------------------------------------------------- recognising


@pytest.mark.parametrize(
    ("_case", "command", "one", "is_ours"),
    [
        ("ours", COMMAND, message(), True),
        ("ours, as text", COMMAND, message("<p>…</p>", body_text=f"Hello\nRef  {STEP} "), True),
        ("at the end of a sentence", COMMAND, message(f"Ref {STEP}."), True),
        ("kind and privacy not told", COMMAND, {"id": 501, "body": f"Ref {STEP}"}, True),
        ("a note of ours", NOTE, message(private=True, source=2), True),
        ("another step", COMMAND, message(f"Ref {STEP}1"), False),
        ("a longer key", COMMAND, message(f"Ref {STEP}.x"), False),
        ("without the word", COMMAND, message(str(STEP)), False),
        ("the customer quotes it", COMMAND, message(incoming=True), False),
        ("a private note about the reply", COMMAND, message(private=True, source=2), False),
        ("a public note about the reply", COMMAND, message(source=2), False),
        ("a forward", COMMAND, message(source=8), False),
        ("a reply that quotes the note", NOTE, message(), False),
        ("no body", COMMAND, message(body=None), False),
    ],
)  # fmt: skip
def test_which_message_is_our_comment(
    _case: str, command: CommentTicket, one: dict[str, Any], is_ours: bool
) -> None:
    assert (comment_in([one], command) is not None) is is_ours


def test_the_first_of_several_quotes_is_the_comment_and_an_answer_is_noticed() -> None:
    messages = [message(id=503), message(id=501), message("<p>thanks</p>", id=502, incoming=True)]
    assert comment_in(messages, COMMAND) == Comment(501, None, is_answered=True)
    assert comment_in(messages[:2], COMMAND) == Comment(501)


def test_pages_are_read_until_one_is_short_and_names_no_next() -> None:
    filler = [message("x", id=n) for n in range(1, 31)]
    freshdesk, vendor = desk(
        ticket(status=4, tags=["rf_cancelled"]), page(*filler), page(filler[0], more=True),
        page(message()),
    )  # fmt: skip
    assert freshdesk.find_comment_ticket(COMMAND) == Done("77:501", "reply on ticket 77")
    assert [dict(request.params)["page"] for request in vendor.requests[1:]] == ["1", "2", "3"]


def test_a_talk_without_end_proves_nothing() -> None:
    vendor = FakeHttp(ticket(), always=page(message("x"), more=True))
    freshdesk = Freshdesk(vendor, "cf_rf_case", "cf_order_ref", now=lambda: NOW)
    assert isinstance(freshdesk.find_comment_ticket(COMMAND), Unknown)
    assert len(vendor.requests) == 11


@pytest.mark.parametrize(
    ("_case", "answers", "found"),
    [
        ("no message", (ticket(), page()), NotFound(180.0, "no message of the ticket carries our reference")),
        ("all is there", (ticket(status=4, tags=["rf_cancelled"]), page(message(replied_to=["a@b.example"]))),
         Done("77:501", "reply on ticket 77; mailed to 1; none of them the address of the order")),
        ("the state is not", (ticket(), page(message())),
         NotFound(0.0, "the comment is there as 77:501, and its tags and status are not all set")),
        ("answered", (ticket(tags=["rf_cancelled"]), page(message(), message("ok", id=502, incoming=True))),
         Done("77:501", "reply on ticket 77; the status is left, because the customer answered")),
        ("mailed to nobody", (ticket(), page(message(to_emails=[]))),
         Permanent("not_mailed", "the reply is on the ticket as 77:501, and Freshdesk mailed it to nobody: the requester has "
                   "no e-mail address")),
        ("a ticket without tags", (answer(200, {"id": 77, "status": 2}),),
         Unknown("the look for the comment has to wait: Freshdesk did not show ticket 77: status 200")),
        ("another ticket", (ticket(id=78),),
         Unknown("the look for the comment has to wait: Freshdesk did not show ticket 77: status 200")),
        ("messages that are none", (ticket(), answer(200, [1])),
         Unknown("the look for the comment has to wait: Freshdesk did not show the ticket's conversations: status 200")),
        ("gone", (answer(404), answer(200, {"total": 0, "results": []}), answer(200, [])),
         Unknown("ticket 77 is gone, and what was written there with it")),
        ("a 404 of somebody else", (answer(404, "<html>no</html>"),),
         Unknown("the look for the comment has to wait: Freshdesk did not show ticket 77: status 404")),
        ("a search that does not filter", (answer(404), answer(200, {"total": 812, "results": [{"id": 1}]})),
         Unknown("the look for the comment has to wait: the search found more tickets than one case can have")),
        ("a list that hides the custom fields",
         (answer(404), answer(200, {"total": 0, "results": []}), answer(200, [{"id": 5}])),
         Unknown("the look for the comment has to wait: Freshdesk did not show the list of tickets: status 200")),
        ("out of the agent's sight", (answer(403, {"code": "access_denied", "message": "no"}),),
         Unknown(f"the look for the comment has to wait: {ACCESS['access_denied']}")),
    ],
)  # fmt: skip
def test_what_a_look_tells(_case: str, answers: tuple[Answer, ...], found: object) -> None:
    freshdesk, vendor = desk(*answers)
    assert freshdesk.find_comment_ticket(COMMAND) == found
    assert vendor.is_drained
    assert {request.method for request in vendor.requests} == {"GET"}


# ---------------------------------------------------------------- answers to writes


def invalid(code: str, field: str = "status", words: str = "It is wrong") -> dict[str, Any]:
    return {"description": "Validation failed", "errors": [{"field": field, "message": words, "code": code}]}


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("throttled", answer(429, {"message": "slow"}, {"Retry-After": "30"}),
         Retryable("throttled", "Freshdesk asks us to slow down", 30.0)),
        ("a wrong key", answer(401, {"code": "invalid_credentials", "message": "x"}),
         Retryable("unauthorised", ACCESS["invalid_credentials"])),
        ("a plan without it", answer(403, {"code": "require_feature", "message": "x"}),
         Retryable("unauthorised", ACCESS["require_feature"])),
        ("a 403 of somebody else", answer(403, "<html>"), Retryable("unauthorised", ACCESS["access_denied"])),
        ("a field", answer(400, invalid("missing_field", "cf_why")),
         Permanent("missing_field", f"Freshdesk refused a new ticket: cf_why: missing_field ({ADVICE['missing_field']})")),
        ("a code that we do not know", answer(400, invalid("moon_phase", words="not for ada@shop.example today")),
         Permanent("moon_phase", "Freshdesk refused a new ticket: status: moon_phase (not for (address) today)")),
        ("taken", answer(409, invalid("duplicate_value", "email")),
         Permanent("duplicate_value", f"Freshdesk refused a new ticket: email: duplicate_value ({ADVICE['duplicate_value']})")),
        ("in conflict", answer(409, {"code": "inconsistent_state", "message": "x"}),
         Permanent("inconsistent_state", f"Freshdesk refused a new ticket: {ADVICE['inconsistent_state']}")),
        ("not JSON", answer(400, {"code": "invalid_json", "message": "x"}),
         Permanent("invalid_json", f"Freshdesk refused a new ticket: {ADVICE['invalid_json']}")),
        ("not allowed", answer(405, {"message": "GET method is allowed"}),
         Permanent("not_allowed", "Freshdesk refused a new ticket: GET method is allowed")),
        ("not there", answer(404), Permanent("not_found", "Freshdesk refused a new ticket: there is no such thing there")),
        ("a page that is not there", answer(404, "<html>"),
         Unknown("unreadable answer from Freshdesk about a new ticket, status 404")),
        ("a 400 without a word", answer(400), Unknown("unreadable answer from Freshdesk about a new ticket, status 400")),
        ("a 500 with a code", answer(500, {"code": "invalid_value", "message": "x"}),
         Unknown("unreadable answer from Freshdesk about a new ticket, status 500")),
        ("a 200 instead of a 201", answer(200, {"id": 78}),
         Unknown("unreadable answer from Freshdesk about a new ticket, status 200")),
        ("a 201 without an id", answer(201, {"id": "78"}),
         Unknown("unreadable answer from Freshdesk about a new ticket, status 201")),
    ],
)  # fmt: skip
def test_answers_to_a_write(_case: str, response: Response, outcome: object) -> None:
    assert read_made(response) == outcome


@pytest.mark.parametrize("code", sorted(ADVICE))
def test_every_known_refusal_is_a_no_to_every_write(code: str) -> None:
    for body in (invalid(code), {"code": code, "message": "x"}):
        for said in (
            read_made(answer(400, body)),
            read_comment(answer(400, body), COMMAND),
            read_change(answer(400, body), 77),
        ):
            assert isinstance(said, Permanent)
            assert said.code == code


def test_a_ticket_that_went_away_before_the_comment_is_followed_up_next_time() -> None:
    freshdesk, _ = desk(ticket(), page(), answer(404))
    assert freshdesk.comment_ticket(COMMAND) == Retryable(
        "ticket_gone", "the ticket went away before the comment was written"
    )


@pytest.mark.parametrize(
    ("_case", "response", "kind"),
    [
        ("refused", answer(400, invalid("missing_field")), Permanent),
        ("throttled", answer(429, ""), Unknown),
        ("no longer allowed", answer(401, ""), Unknown),
        ("failed", answer(500, ""), Unknown),
        ("another ticket's answer", answer(200, {"id": 78}), Unknown),
    ],
)
def test_after_the_comment_every_trouble_says_that_it_is_there(
    _case: str, response: Response, kind: type[Permanent | Unknown]
) -> None:
    freshdesk, _ = desk(ticket(), page(), REPLIED, ticket(), response)
    said = freshdesk.comment_ticket(COMMAND)
    assert isinstance(said, kind)
    assert said.reason.startswith("the comment is there as 77:501; its tags and status ")


def test_a_ticket_that_cannot_be_read_after_the_comment_is_unknown() -> None:
    freshdesk, _ = desk(ticket(), page(), REPLIED, answer(503))
    said = freshdesk.comment_ticket(COMMAND)
    assert isinstance(said, Unknown)
    assert said.reason.startswith("the comment is there as 77:501")


def test_a_wire_that_breaks_is_left_to_the_flow() -> None:
    freshdesk, _ = desk(ticket(), page(), MaybeSentError("reset"))
    with pytest.raises(MaybeSentError):
        freshdesk.comment_ticket(COMMAND)


# ---------------------------------------------------------------- what it is built from


def test_it_is_declared_as_it_is() -> None:
    assert SPEC.operations[Capability.COMMENT_TICKET].idempotency is Idempotency.LOOKUP
    assert set(SPEC.operations) == {Capability.COMMENT_TICKET, Capability.CHECK, Capability.INBOUND}


def test_the_key_is_the_user_and_the_domain_the_address() -> None:
    wire = FakeWire()
    build(Credentials(api_key=Secret("practice-key"), domain="shop"), wire)
    assert wire.made[0]["base_url"] == "https://shop.freshdesk.com"
    assert wire.made[0]["auth"] == ("practice-key", "practice-key")
    build(Credentials(api_key=Secret("practice-key"), base_url="http://127.0.0.1:9/freshdesk/"), wire)
    assert wire.made[1]["base_url"] == "http://127.0.0.1:9/freshdesk"


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": ""},
        {"domain": "shop.freshdesk.com"},
        {"agent_id": "refundflow"},
        {"case_field": "rf_case"},
        {"order_field": "cf_x'"},
        {"webhook_header": "X Token"},
        {"cancellation_event": "asks for it"},
    ],
)
def test_settings_that_cannot_work_are_told(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        Credentials(**{"api_key": Secret("k"), "domain": "shop", **changes})  # type: ignore[arg-type] # texts


def test_what_people_wrote_is_not_kept() -> None:
    redaction = Redaction(SPEC.redact)
    kept = str(
        redaction.json(
            {
                **comment_request(COMMAND, 77).json,
                "subject": "Ada's kettle",
                "body_text": "Dear Ada",
                "description": "Dear Ada",
                "replied_to": ["ada@shop.example"],
                "requester": {"id": 9, "name": "Ada"},
                "id": 501,
            }
        )
    )
    assert "Ada" not in kept
    assert "ada@" not in kept
    assert "501" in kept


@pytest.mark.parametrize(
    ("response", "is_ok"),
    [
        (answer(200, {"id": 432, "ticket_scope": 1}), True),
        (answer(200, {"id": 433, "ticket_scope": 1}), False),
        (answer(200, {"id": 432, "ticket_scope": 2}), False),
        (answer(200, {"id": 432}), False),
        (answer(401, {"code": "invalid_credentials", "message": "x"}), False),
        (answer(500), False),
    ],
)
def test_the_check(response: Response, is_ok: bool) -> None:
    freshdesk, vendor = desk(response)
    health = freshdesk.check()
    assert health.is_ok is is_ok
    assert health.detail
    assert vendor.calls == ["GET /api/v2/agents/me"]


# ---------------------------------------------------------------- in

INBOUND = FreshdeskInbound(Secret("old-token-of-ours, new-token-of-ours"), "shopify", agent_id="432")
FIELDS: dict[str, Any] = {
    "source": "freshdesk",
    "event": "cancellation_requested",
    "ticket_id": "77",
    "ticket_status": "Open",
    "ticket_tags": "vip, cancellation_request",
    "requester_email": "ada@shop.example",
    "order_ref": "#1042",
    "updated_at": "2026-11-25T11:59:00Z",
}


def delivery(body: bytes | None = None, token: str = "new-token-of-ours", **changes: Any) -> Delivery:
    sent = json.dumps({**FIELDS, **changes}).encode() if body is None else body
    return Delivery({"x-refundflow-token": token}, sent)


def event_id(inbound: FreshdeskInbound, sent: Delivery) -> str:
    verified = inbound.verify(sent, NOW)
    assert isinstance(verified, Verified), verified
    return verified.source_event_id


@pytest.mark.parametrize(
    ("_case", "token", "is_let_in"),
    [
        ("the new one", "new-token-of-ours", True),
        ("the old one", "old-token-of-ours", True),
        ("both as they stand in the settings", "old-token-of-ours, new-token-of-ours", False),
        ("the beginning of one", "new-token", False),
        ("none", "", False),
        ("bytes that are no text", "\udcff", False),
    ],
)
def test_the_token_lets_in(_case: str, token: str, is_let_in: bool) -> None:
    assert isinstance(INBOUND.verify(delivery(token=token), NOW), Verified) is is_let_in


def test_without_a_token_or_under_another_header_nobody_is_let_in() -> None:
    assert INBOUND.verify(Delivery({"authorization": "new-token-of-ours"}, b"{}"), NOW) == Refused(
        "the header X-Refundflow-Token does not hold the token"
    )
    for none in ("", " , "):
        assert FreshdeskInbound(Secret(none), "shopify").verify(delivery(token=""), NOW) == Refused(
            "no webhook token is set"
        )


def test_the_header_may_have_another_name() -> None:
    named = FreshdeskInbound(Secret("new-token-of-ours"), "shopify", header="X-Desk")
    assert isinstance(named.verify(Delivery({"x-desk": "new-token-of-ours"}, b"{}"), NOW), Verified)
    assert isinstance(named.verify(delivery(), NOW), Refused)


def test_a_redelivery_is_the_same_event_and_every_other_request_is_another() -> None:
    first = event_id(INBOUND, delivery())
    assert first.startswith("77:")
    assert event_id(INBOUND, delivery(token="old-token-of-ours")) == first
    # Two rules about the same change: what they say of the ticket besides makes no second request of it.
    assert (
        event_id(INBOUND, delivery(ticket_tags="cancellation_request, vip", ticket_status="Pending")) == first
    )
    others = [
        delivery(ticket_id=78),
        delivery(event="other"),
        delivery(updated_at="2026-11-25T11:59:01Z"),
        delivery(order_ref="#1043"),
    ]
    assert len({event_id(INBOUND, each) for each in others} | {first}) == 5


@pytest.mark.parametrize(
    "changes", [{"updated_at": ""}, {"updated_at": "{{ticket.updated_at}}"}, {"ticket_id": "x"}]
)
def test_without_a_time_or_a_ticket_the_body_names_the_event(changes: dict[str, Any]) -> None:
    first = event_id(INBOUND, delivery(**changes))
    assert first.startswith("body:")
    assert event_id(INBOUND, delivery(**changes)) == first
    assert event_id(INBOUND, delivery(**changes, ticket_status="Closed")) != first


def test_a_number_without_quotes_is_the_same_ticket() -> None:
    assert event_id(INBOUND, delivery(ticket_id=77)) == event_id(INBOUND, delivery())


def test_a_request_is_read() -> None:
    assert INBOUND.read_event("cancellation_requested", delivery().body) == CancellationRequested(
        order=OrderRef("shopify", number="#1042"),
        reason="customer",
        requested_by="ada@shop.example",
        note="Freshdesk ticket 77; Open; tags vip, cancellation_request",
        ticket_id="77",
    )
    bare = {"source": "freshdesk", "event": "cancellation_requested", "ticket_id": 77, "order_ref": 1042}
    assert INBOUND.read_event("", json.dumps(bare).encode()) == CancellationRequested(
        order=OrderRef("shopify", number="1042"), note="Freshdesk ticket 77", ticket_id="77"
    )


@pytest.mark.parametrize(
    ("_case", "changes"),
    [("another rule", {"event": "csat"}), ("our own change", {"performed_by": "432"}), ("as a number", {"performed_by": 432})],
)  # fmt: skip
def test_what_asks_nothing_of_us(_case: str, changes: dict[str, Any]) -> None:
    assert isinstance(INBOUND.read_event("", delivery(**changes).body), Irrelevant)


def test_somebody_elses_change_asks_and_so_does_ours_where_we_do_not_know_ourselves() -> None:
    unknown = replace(INBOUND, agent_id="")
    for inbound, agent in ((INBOUND, "433"), (unknown, "")):
        assert isinstance(inbound.read_event("", delivery(performed_by=agent).body), CancellationRequested)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("body", b'{"order_ref": "10"42"}'),
        ("body", b'{"note": "a\nb"}'),
        ("body", b"[]"),
        ("body", b"{}"),
        ("body", b""),
        ("body", b"\xff\xfe"),
        ("source", delivery(source="zendesk").body),
        ("event", delivery(event="").body),
        ("ticket_id", delivery(ticket_id="").body),
        ("ticket_id", delivery(ticket_id="{{ticket.id}}").body),
        ("ticket_id", delivery(ticket_id=True).body),
        ("order_ref", delivery(order_ref="").body),
        ("order_ref", delivery(order_ref=" ").body),
        ("order_ref", delivery(order_ref=None).body),
        ("order_ref", delivery(order_ref="{{ticket.cf_order_ref}}").body),
        ("order_ref", delivery(order_ref="1" * 101).body),
        ("order_ref", delivery(order_ref="1\x002").body),
        ("order_ref", delivery(order_ref="1\ud800").body),
        ("order_ref", delivery().body[:-1] + b', "order_ref": "2001"}'),
        ("order_ref", delivery().body[:-1] + b', "order\\u005fref": "2001"}'),
    ],
)
def test_what_cannot_be_read_is_let_in_and_named(field: str, body: bytes) -> None:
    assert isinstance(INBOUND.verify(delivery(body), NOW), Verified)
    with pytest.raises(MalformedError) as caught:
        INBOUND.read_event("", body)
    assert caught.value.field == field


def test_a_topic_is_one_that_the_database_can_keep() -> None:
    for event in ("a\x00b", "x" * 101, "two words", ""):
        verified = INBOUND.verify(delivery(event=event), NOW)
        assert isinstance(verified, Verified)
        assert verified.topic == "unreadable"


def test_who_asked_is_a_text_that_the_database_can_keep() -> None:
    body = delivery(
        requester_email="ada\x00@shop.example", ticket_tags="a\ud800b", ticket_status="{{x}}"
    ).body
    reading = INBOUND.read_event("", body)
    assert isinstance(reading, CancellationRequested)
    assert (reading.requested_by, reading.note) == ("ada@shop.example", "Freshdesk ticket 77; tags ab")


def test_orders_live_where_the_desk_says_else_where_the_shop_says() -> None:
    keys = Credentials(api_key=Secret("k"), domain="shop", webhook_token=Secret("t"), webhook_header="X-Desk")
    assert build_inbound(keys, "shopify") == FreshdeskInbound(Secret("t"), "shopify", header="X-Desk")
    assert build_inbound(replace(keys, order_platform="square"), "shopify").order_platform == "square"
