"""Zendesk: where a comment goes, how it is found again in the audits, and what a ticket's webhook asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.zendesk import (
    ERRORS,
    EVENT_PREFIX,
    SPEC,
    TEST_SECRET,
    TRIGGERED,
    UNAUTHORISED,
    Credentials,
    Desk,
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
    Greeting,
    Irrelevant,
    MalformedError,
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
from refundflow.settings import Secret
from refundflow.transport.base import Response
from refundflow.transport.redact import Redaction
from refundflow.transport.signatures import sign_base64
from tests.support.fake_http import FakeHttp, FakeWire, answer

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 77)
STEP = mint_step_key(CASE, "notify", 1)
STAMP = "2026-11-25T11:59:58Z"
DESK = Desk("refunds@shop.example", "901", "360000000101")
TAGS = ("refundflow", "refundflow-complete")
COMMAND = CommentTicket(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    order_number="1001",
    template="refund_sent",
    subject="Your refund",
    text="Dear {{ticket.requester.name}} & <b>co</b>,\n\n42.50 EUR are\non their way.",
    requester_email="ada@customers.example",
    requester_name="Ada Buyer",
    is_public=True,
    tags=TAGS,
)
ON_4001 = replace(COMMAND, ticket_id="4001")
HTML = (
    "<p>Dear {\u2060{ticket.requester.name}} &amp; &lt;b&gt;co&lt;/b&gt;,</p>"
    "<p>42.50 EUR are<br>on their way.</p>"
)
MARKS = {"refundflow_op": STEP, "refundflow_case": CASE}
NOT_THERE = NotFound(60.0, "no audit of the case's tickets carries our reference", 30 * 24 * 3600.0)


def zendesk(vendor: FakeHttp, desk: Desk = DESK) -> Zendesk:
    return Zendesk(vendor, desk)


def ticket(number: int = 4001, **changes: Any) -> dict[str, Any]:
    known = {"id": number, "status": "open", "updated_at": STAMP, "tags": list(TAGS), "external_id": CASE,
             "requester_id": 77, "assignee_id": 902}  # fmt: skip
    return {**known, **changes}


def one(**changes: Any) -> Response:
    return answer(200, {"ticket": ticket(**changes)})


def many(*tickets: dict[str, Any]) -> Response:
    return answer(200, {"tickets": list(tickets), "next_page": None, "previous_page": None})


def audit(op: str, number: int = 9001) -> dict[str, Any]:
    return {"id": number, "metadata": {"system": {}, "custom": {"refundflow_op": op}}, "events": []}


def audits(*known: Any, cursor: str = "") -> Response:
    meta = {"has_more": bool(cursor), "after_cursor": cursor or None}
    return answer(200, {"audits": list(known), "meta": meta, "links": {"next": None}})


def updated(number: int = 4001) -> Response:
    return answer(200, {"ticket": ticket(number), "audit": audit(STEP, 9009)})


def created(number: int = 4002, lookup: str = "miss") -> Response:
    return answer(201, {"ticket": ticket(number)}, {"x-idempotency-lookup": lookup})


def error(status: int, code: Any, description: str = "", **more: Any) -> Response:
    return answer(status, {"error": code, "description": description, **more})


CLOSED = error(
    422,
    "RecordInvalid",
    "Record validation errors",
    details={"status": [{"description": "Status: closed prevents ticket update"}]},
)


# ---------------------------------------------------------------- commenting


def test_a_comment_is_an_update_that_carries_our_reference_and_the_stamp_read_before_the_look() -> None:
    vendor = FakeHttp(one(), audits(audit("RF-0.notify.1")), updated())
    assert zendesk(vendor).comment_ticket(ON_4001) == Done("4001", "audit 9009")
    assert vendor.calls == [
        "GET /api/v2/tickets/4001",
        "GET /api/v2/tickets/4001/audits",
        "PUT /api/v2/tickets/4001",
    ]
    assert vendor.requests[2].json == {
        "ticket": {
            "comment": {"html_body": HTML, "public": True},
            "safe_update": True,
            "updated_stamp": STAMP,
            "metadata": MARKS,
        }
    }


def test_missing_tags_are_added_by_their_own_call_before_the_ticket_is_read_again() -> None:
    later = "2026-11-25T12:00:00Z"
    vendor = FakeHttp(
        one(tags=["vip", "refundflow"]),
        answer(200, {"tickets": [], "tags": ["vip", *TAGS]}),
        one(tags=["vip", *TAGS], updated_at=later),
        audits(),
        updated(),
    )
    assert zendesk(vendor).comment_ticket(ON_4001) == Done("4001", "audit 9009")
    assert vendor.calls[1:3] == ["PUT /api/v2/tickets/4001/tags", "GET /api/v2/tickets/4001"]
    assert vendor.requests[1].json == {
        "tags": ["refundflow-complete"],
        "updated_stamp": STAMP,
        "safe_update": "true",
    }
    sent = vendor.requests[4].json["ticket"]
    assert sent["updated_stamp"] == later
    assert "tags" not in sent  # it would take the place of all tags


def test_our_updates_never_ask_for_a_cancellation_and_tags_are_single_words() -> None:
    asked = replace(ON_4001, tags=("Order_Cancellation", "Money Sent", "", "refundflow"))
    vendor = FakeHttp(one(tags=[]), answer(500))
    zendesk(vendor).comment_ticket(asked)
    assert vendor.requests[1].json["tags"] == ["refundflow", "money_sent"]
    vendor = FakeHttp(many(), created())
    zendesk(vendor).comment_ticket(replace(asked, ticket_id=""))
    assert vendor.requests[1].json["ticket"]["tags"] == ["refundflow", "money_sent"]


def test_a_comment_that_is_there_already_is_not_written_again() -> None:
    vendor = FakeHttp(one(), audits(audit("x"), cursor="bmV4dA"), audits(audit(STEP, 9004)))
    assert zendesk(vendor).comment_ticket(ON_4001) == AlreadyDone("4001", "audit 9004")
    assert dict(vendor.requests[2].params) == {"page[size]": "100", "page[after]": "bmV4dA"}


@pytest.mark.parametrize(
    ("_case", "status", "assignee", "desk", "changes"),
    [
        ("left as it is", "", None, DESK, {}),
        ("reopened", "open", None, DESK, {"status": "open"}),
        ("solved, somebody's", "solved", 902, DESK, {"status": "solved"}),
        ("solved, nobody's", "solved", None, DESK, {"status": "solved", "assignee_id": 901}),
        ("nobody's, our number unknown", "solved", None, Desk("refunds@shop.example"),
         {"status": "solved", "assignee_email": "refunds@shop.example"}),
        ("nobody's, we unknown", "solved", None, Desk(), {"status": "solved"}),
    ],
)  # fmt: skip
def test_the_status_is_set_as_asked(
    _case: str, status: str, assignee: int | None, desk: Desk, changes: dict[str, Any]
) -> None:
    vendor = FakeHttp(one(assignee_id=assignee), audits(), updated())
    zendesk(vendor, desk).comment_ticket(replace(ON_4001, status=status))
    sent = vendor.requests[2].json["ticket"]
    assert {n: v for n, v in sent.items() if n in ("status", "assignee_id", "assignee_email")} == changes


@pytest.mark.parametrize(
    ("_case", "text", "markup", "shown"),
    [
        ("a whole page", "x", "<!doctype html><html><body style='a'>\n<p>Hi {% if %}</p>\n</body></html>", "<p>Hi {\u2060% if %}</p>"),
        ("a part of one", "x", "<p>Hi</p>", "<p>Hi</p>"),
        ("too long as it was written", "short", "<p>" + "é" * 40_000 + "</p>", "<p>short</p>"),
        ("three braces", "{{{x}}}", "", "<p>{\u2060{\u2060{x}}}</p>"),
        ("markup in a name", "<script>\"'&", "", "<p>&lt;script&gt;&quot;&#x27;&amp;</p>"),
        ("too long", "'" * 30_000, "", "<p>" + "&#x27;" * 9_999 + "…</p>"),
    ],
)  # fmt: skip
def test_what_is_shown_is_text_and_nothing_is_filled_in(
    _case: str, text: str, markup: str, shown: str
) -> None:
    vendor = FakeHttp(one(), audits(), updated())
    zendesk(vendor).comment_ticket(replace(ON_4001, text=text, html=markup, is_public=False))
    assert vendor.requests[2].json["ticket"]["comment"] == {"html_body": shown, "public": False}
    assert len(shown.encode()) <= 64 * 1024


def test_without_a_text_or_with_a_strange_ticket_nothing_is_called() -> None:
    vendor = FakeHttp()
    empty = zendesk(vendor).comment_ticket(replace(COMMAND, text=" \n"))
    strange = replace(COMMAND, ticket_id="4001/../4002")
    assert empty == Permanent("empty", "a comment needs a text")
    assert zendesk(vendor).comment_ticket(strange) == zendesk(vendor).find_comment_ticket(strange)
    assert zendesk(vendor).comment_ticket(strange) == Permanent(
        "invalid_ticket", "'4001/../4002' is no ticket number of Zendesk's"
    )
    assert vendor.requests == []


# ---------------------------------------------------------------- the case's ticket


def test_a_case_without_a_ticket_gets_one_under_the_cases_key() -> None:
    vendor = FakeHttp(many(ticket(4100, external_id=f"{CASE}X")), created())
    assert zendesk(vendor).comment_ticket(replace(COMMAND, status="solved")) == Done("4002", "a new ticket")
    look, create = vendor.requests
    assert (look.path, look.params) == ("/api/v2/tickets", (("external_id", CASE),))
    assert create.headers == {"Idempotency-Key": f"refundflow:{CASE}.ticket:1"}
    assert create.json == {
        "ticket": {
            "subject": "Your refund",
            "external_id": CASE,
            "tags": list(TAGS),
            "comment": {"html_body": HTML, "public": True},
            "metadata": MARKS,
            "status": "solved",
            "assignee_id": 901,
            "requester": {"name": "Ada Buyer", "email": "ada@customers.example"},
            "custom_fields": [{"id": 360000000101, "value": "1001"}],
        }
    }


def test_two_steps_of_a_case_share_the_key_until_there_was_a_definite_no() -> None:
    second = mint_step_key(CASE, "notify", 2)
    keys = []
    for step, attempt in ((STEP, 1), (second, 1), (STEP, 2)):
        vendor = FakeHttp(many(), created())
        zendesk(vendor).comment_ticket(replace(COMMAND, step_key=step, key=wire_key(step, attempt)))
        keys.append(vendor.requests[1].headers["Idempotency-Key"].rpartition(".")[2])
    assert keys == ["ticket:1", "ticket:1", "ticket:2"]


def test_a_ticket_for_nobody_in_particular_is_ours() -> None:
    vendor = FakeHttp(many(), created())
    zendesk(vendor, Desk()).comment_ticket(replace(COMMAND, requester_email="", subject=""))
    sent = vendor.requests[1].json["ticket"]
    assert sent["subject"] == "Cancellation of order 1001"
    assert not {"requester", "requester_id", "custom_fields", "status"} & set(sent)


def test_the_cases_one_open_ticket_takes_the_comment() -> None:
    vendor = FakeHttp(many(ticket(4001, status="closed"), ticket(4005)), audits(), updated(4005))
    assert zendesk(vendor).comment_ticket(COMMAND) == Done("4005", "audit 9009")


def test_several_open_tickets_of_a_case_are_for_a_person() -> None:
    vendor = FakeHttp(many(ticket(4001), ticket(4002, status="solved")))
    assert zendesk(vendor).comment_ticket(COMMAND) == Permanent(
        "ambiguous", f"tickets 4001, 4002 all carry {CASE} as their external id: merge them into one"
    )
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("_case", "command", "answers", "follows"),
    [
        ("the ticket that asked", ON_4001, (one(status="closed", external_id="shop-7"), many()), 4001),
        ("the case's own", COMMAND, (many(ticket(4003, status="closed"), ticket(4001, status="closed")),), 4003),
        ("the follow-up too", ON_4001, (one(status="closed", external_id=None), many(ticket(4003, status="closed"))), 4003),
    ],
)  # fmt: skip
def test_a_closed_ticket_is_followed_by_a_new_one(
    _case: str, command: CommentTicket, answers: tuple[Response, ...], follows: int
) -> None:
    vendor = FakeHttp(*answers, created(4009))
    assert zendesk(vendor).comment_ticket(command) == Done("4009", f"follows the closed ticket {follows}")
    sent = vendor.requests[-1]
    assert sent.headers["Idempotency-Key"] == f"refundflow:{CASE}.ticket.after.{follows}:1"
    made = sent.json["ticket"]
    assert (made["via_followup_source_id"], made["external_id"], made["requester_id"]) == (follows, CASE, 77)
    assert "requester" not in made
    assert made["tags"] == list(TAGS)


def test_an_open_follow_up_of_the_asking_ticket_takes_the_comment() -> None:
    vendor = FakeHttp(one(status="closed"), many(ticket(4003)), audits(), updated(4003))
    assert zendesk(vendor).comment_ticket(ON_4001) == Done("4003", "audit 9009")


# ---------------------------------------------------------------- answers

GONE = Permanent("ticket_gone", "the ticket is not there: somebody deleted it")


def before(status: int) -> Retryable:
    return Retryable(
        "unavailable", f"unreadable answer from Zendesk before anything was written, status {status}"
    )


def unreadable(status: int) -> Unknown:
    return Unknown(f"unreadable answer from Zendesk, status {status}")


WRITES: list[tuple[str, Response, Outcome]] = [
    ("throttled", answer(429, "slow down", {"Retry-After": "30"}), Retryable("throttled", "Zendesk asks us to slow down", 30.0)),
    ("not let in", error(401, "Couldn't authenticate you"), UNAUTHORISED),
    ("forbidden", answer(403, {"error": {"title": "Forbidden", "message": "no"}}), UNAUTHORISED),
    ("gone", error(404, "RecordNotFound", "Not found"), GONE),
    ("a conflict", error(409, "UpdateConflict", "Safe Update prevented it"), ERRORS["UpdateConflict"]),
    ("the key of another body", error(400, "IdempotentRequestError", "x"), ERRORS["IdempotentRequestError"]),
    ("the same with another status", error(409, "IdempotentRequestError", "x"), ERRORS["IdempotentRequestError"]),
    ("closed meanwhile", CLOSED, Retryable("closed_meanwhile", "the ticket was closed meanwhile; a follow-up is made")),
    ("a field is missing",
     error(422, "RecordInvalid", "Record validation errors", details={"base": [{"description": "Size: is required when solving a ticket"}]}),
     Permanent("RecordInvalid", "Record validation errors: Size: is required when solving a ticket")),
    ("an address in it", error(422, "RecordInvalid", "ada@customers.example is suspended"), Permanent("RecordInvalid", "(address) is suspended")),
    ("details of another shape", error(422, "RecordInvalid", "", details=[1]), Permanent("RecordInvalid", "Zendesk gives no reason")),
    ("an error that is an object", answer(400, {"error": {"title": "Invalid attribute", "message": "x must be y"}}),
     Permanent("Invalid attribute", "x must be y")),
    ("a 422 without a word", answer(422, ""), unreadable(422)),
    ("a 404 of somebody else", answer(404, "<html>"), unreadable(404)),
    ("a conflict that we do not know", error(409, "Conflict"), unreadable(409)),
    ("a known code with a 5xx", error(503, "UpdateConflict"), unreadable(503)),
    ("a 500", error(500, "InternalError"), unreadable(500)),
    ("HTML", answer(200, "<html>"), unreadable(200)),
    ("empty", answer(200, ""), unreadable(200)),
    ("a redirect", answer(302, "", {"Location": "https://login.example"}), unreadable(302)),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "response", "outcome"), WRITES)
def test_answers_to_a_comment(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(one(), audits(), response)
    assert zendesk(vendor).comment_ticket(ON_4001) == outcome
    assert vendor.is_drained


@pytest.mark.parametrize(("_case", "response", "outcome"), WRITES)
def test_answers_to_a_new_ticket(_case: str, response: Response, outcome: Outcome) -> None:
    assert zendesk(FakeHttp(many(), response)).comment_ticket(COMMAND) == outcome


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("another ticket", answer(200, {"ticket": ticket(4002), "audit": audit(STEP)}), unreadable(200)),
        ("no audit", one(), unreadable(200)),
        ("made", created(4001), unreadable(201)),
    ],
)
def test_only_the_described_yes_is_done_for_a_comment(
    _case: str, response: Response, outcome: Outcome
) -> None:
    assert zendesk(FakeHttp(one(), audits(), response)).comment_ticket(ON_4001) == outcome


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("kept from the first try", created(lookup="hit"), AlreadyDone("4002", "a new ticket")),
        ("made now", created(), Done("4002", "a new ticket")),
        ("without our case id", answer(201, {"ticket": ticket(4002, external_id=None)}), unreadable(201)),
        ("a 200", one(), unreadable(200)),
    ],
)  # fmt: skip
def test_only_the_described_yes_is_done_for_a_ticket(
    _case: str, response: Response, outcome: Outcome
) -> None:
    assert zendesk(FakeHttp(many(), response)).comment_ticket(COMMAND) == outcome


@pytest.mark.parametrize(
    ("_case", "answers", "outcome"),
    [
        ("gone", (error(404, "RecordNotFound"),), GONE),
        ("a 404 of somebody else", (answer(404, "<html>"),), before(404)),
        ("a 500", (answer(500),), before(500)),
        ("another ticket", (one(number=4002),), before(200)),
        ("no stamp", (one(updated_at=None),), before(200)),
        ("tags throttled", (one(tags=[]), answer(429, "", {"Retry-After": "9"})), Retryable("throttled", "Zendesk asks us to slow down", 9.0)),
        ("tags not all there", (one(tags=[]), answer(200, {"tags": ["refundflow"]})), before(200)),
        ("tags in conflict", (one(tags=[]), error(409, "UpdateConflict")), ERRORS["UpdateConflict"]),
        ("tags of a closed ticket", (one(tags=[]), CLOSED), Retryable("closed_meanwhile", "the ticket was closed meanwhile; a follow-up is made")),
        ("gone after the tags", (one(tags=[]), answer(200, {"tags": list(TAGS)}), error(404, "RecordNotFound")), GONE),
        ("audits not for us", (one(), answer(403, "")), UNAUTHORISED),
        ("audits without an end", (one(), answer(200, {"audits": []})), before(200)),
        ("audits that go on nowhere", (one(), answer(200, {"audits": [], "meta": {"has_more": True}})), before(200)),
        ("audits by number that go on", (one(), answer(200, {"audits": [], "next_page": "https://x"})), before(200)),
    ],
)  # fmt: skip
def test_trouble_before_the_comment_writes_none(
    _case: str, answers: tuple[Response, ...], outcome: Outcome
) -> None:
    vendor = FakeHttp(*answers)
    assert zendesk(vendor).comment_ticket(ON_4001) == outcome
    assert vendor.is_drained
    assert "PUT /api/v2/tickets/4001" not in vendor.calls


@pytest.mark.parametrize(
    "response",
    [
        answer(200, {"tickets": [ticket()], "next_page": "https://x"}),
        answer(200, {"tickets": [ticket()], "meta": {"has_more": True, "after_cursor": "x"}}),
        answer(200, {"tickets": [7]}),
        answer(200, {"tickets": [ticket(status=None)]}),
        answer(200, []),
    ],
)
def test_a_list_of_tickets_that_is_not_whole_makes_no_ticket(response: Response) -> None:
    vendor = FakeHttp(response)
    assert zendesk(vendor).comment_ticket(COMMAND) == before(200)
    assert len(vendor.requests) == 1


def test_audits_without_end_are_not_read_for_ever() -> None:
    vendor = FakeHttp(one(), always=audits(audit("x"), cursor="bmV4dA"))
    assert zendesk(vendor).comment_ticket(ON_4001) == Permanent(
        "too_many_audits",
        "ticket 4001 has more than 1500 audits to look through: close it, and a follow-up is made",
    )
    assert len(vendor.requests) == 16


# ---------------------------------------------------------------- looking


def test_a_look_reads_the_asking_ticket_and_every_ticket_of_the_case() -> None:
    vendor = FakeHttp(many(ticket(4003), ticket(4001)), audits(), audits(audit("x"), audit(STEP, 9007)))
    assert zendesk(vendor).find_comment_ticket(ON_4001) == Done("4003", "audit 9007")
    assert vendor.calls == [
        "GET /api/v2/tickets",
        "GET /api/v2/tickets/4001/audits",
        "GET /api/v2/tickets/4003/audits",
    ]


def look_failed(reason: str) -> Unknown:
    return Unknown(f"could not look: {reason}")


@pytest.mark.parametrize(
    ("_case", "answers", "found"),
    [
        ("nothing", (many(), audits()), NOT_THERE),
        ("other steps of the case", (many(), audits(audit(f"{STEP}1"), audit(mint_step_key(CASE, "notify", 2)))), NOT_THERE),
        ("audits of other apps", (many(), audits({"id": 1}, {"metadata": []}, {"id": 2, "metadata": {"custom": []}}, 7, None)), NOT_THERE),
        ("paged by number", (many(), answer(200, {"audits": [], "next_page": None, "count": 0})), NOT_THERE),
        ("gone", (many(), error(404, "RecordNotFound")), NotFound(None, "ticket 4001 was deleted, and what was on it with it")),
        ("gone, and on the follow-up", (many(ticket(4003)), error(404, "RecordNotFound"), audits(audit(STEP))), Done("4003", "audit 9001")),
        ("throttled", (answer(429, ""),), look_failed("Zendesk asks us to slow down")),
        ("audits throttled", (many(), answer(429, "")), look_failed("Zendesk asks us to slow down")),
        ("not let in", (answer(401, ""),), look_failed(UNAUTHORISED.reason)),
        ("refused", (error(400, "x", "y"),), look_failed("y")),
        ("HTML", (many(), answer(200, "<html>")), look_failed(before(200).reason)),
    ],
)  # fmt: skip
def test_what_a_look_makes_of_answers(_case: str, answers: tuple[Response, ...], found: object) -> None:
    vendor = FakeHttp(*answers)
    assert zendesk(vendor).find_comment_ticket(ON_4001) == found
    assert vendor.is_drained


def test_a_case_without_any_ticket_has_no_comment() -> None:
    assert zendesk(FakeHttp(many())).find_comment_ticket(COMMAND) == NOT_THERE


@pytest.mark.parametrize(
    ("_case", "response", "health"),
    [
        ("fine", many(), Health(True, "Zendesk answers, and tickets can be read")),
        ("a wrong token", error(401, "Couldn't authenticate you"), Health(False, UNAUTHORISED.reason)),
        ("no such desk", answer(404, "<html>"), Health(False, "there is no Zendesk here: check REFUNDFLOW_ZENDESK_SUBDOMAIN")),
        ("down", answer(503, ""), Health(False, "Zendesk answered with status 503")),
        ("HTML", answer(200, "<html>"), Health(False, "Zendesk answered with status 200")),
    ],
)  # fmt: skip
def test_check(_case: str, response: Response, health: Health) -> None:
    vendor = FakeHttp(response)
    assert zendesk(vendor).check() == health
    assert (vendor.sent.path, vendor.sent.params) == (
        "/api/v2/tickets",
        (("external_id", "refundflow-check"),),
    )


# ---------------------------------------------------------------- credentials

TOKEN: dict[str, Any] = {
    "subdomain": "shop",
    "email": "refunds@shop.example",
    "api_token": Secret("zd-token-1"),
}


def test_an_api_token_is_basic_and_an_access_token_a_bearer() -> None:
    wire = FakeWire()
    build(Credentials(**TOKEN), wire)
    build(
        Credentials(base_url="http://localhost:9/zendesk/", email="x@y.example", access_token=Secret("at-1")),
        wire,
    )
    basic, bearer = wire.made
    assert (basic["base_url"], basic["headers"]) == ("https://shop.zendesk.com", None)
    assert basic["auth"] == ("refunds@shop.example/token", "zd-token-1")
    assert (bearer["base_url"], bearer["auth"]) == ("http://localhost:9/zendesk", None)
    assert bearer["headers"] == {"Authorization": "Bearer at-1"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subdomain": ""}, "subdomain"),
        ({"subdomain": "shop.zendesk.com"}, "subdomain"),
        ({"api_token": Secret()}, "API token"),
        ({"email": ""}, "API token"),
        ({"agent_id": "me"}, "agent is named by its number"),
        ({"order_field_id": "12x"}, "custom field is named by its number"),
        ({"cancellation_tag": "Order Cancellation"}, "lower case"),
        ({"sent_tag": "order_cancellation"}, "different"),
        ({"sent_tag": ""}, "lower case"),
    ],
)
def test_credentials_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Credentials(**{**TOKEN, **changes})


def test_secrets_do_not_show() -> None:
    shown = repr(Credentials(**TOKEN, access_token=Secret("at-1"), webhook_secret=Secret("whs-1")))
    assert not any(secret in shown for secret in ("zd-token-1", "at-1", "whs-1"))


def test_what_the_audit_keeps_of_a_ticket_holds_nothing_that_people_wrote() -> None:
    wire = FakeWire()
    build(Credentials(**TOKEN), wire)
    vendor = FakeHttp(many(), created())
    zendesk(vendor).comment_ticket(COMMAND)
    kept = str(Redaction(wire.made[0]["redact"]).json(vendor.requests[1].json))
    assert STEP in kept
    assert CASE in kept
    assert not any(word in kept for word in ("Ada", "ada@", "42.50", "Your refund"))


def test_the_declaration_says_that_repeats_are_looked_up() -> None:
    assert SPEC.operations[Capability.COMMENT_TICKET].idempotency is Idempotency.LOOKUP


# ---------------------------------------------------------------- signatures

SECRET = "HRkRd4BeOAoUkfZr-mhauJT64rvBASlJRoIyPsd3zeA="
INBOUND = ZendeskInbound(Secret("old-secret,practice-secret"), "shopify", DESK)


def signed(
    body: bytes, *, secret: str = "practice-secret", at: datetime = NOW, invocation: str = "01INV"
) -> Delivery:
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Delivery(
        {
            "x-zendesk-webhook-signature": sign_base64(secret, stamp.encode() + body),
            "x-zendesk-webhook-signature-timestamp": stamp,
            "x-zendesk-webhook-invocation-id": invocation,
        },
        body,
    )


def vector(signature: str, stamp: str, body: bytes) -> Delivery:
    named = {"signature": signature, "signature-timestamp": stamp}
    return Delivery({f"x-zendesk-webhook-{name}": value for name, value in named.items()}, body)


def test_the_vendors_vector_under_the_secret_of_test_webhook_is_a_greeting() -> None:
    signature, stamp = "S/RDdU2ERmj7LHDDoWJ2onPYH+t7/f2+LTM4dL7UiLM=", "2021-03-25T05:09:27Z"
    delivery = vector(signature, stamp, b'{"event":"ticket.updated","id":123}')
    for secret in (Secret("practice-secret"), Secret(), Secret(TEST_SECRET)):
        inbound = ZendeskInbound(secret, "shopify")
        assert inbound.verify(delivery, NOW) == Greeting("a webhook is tried out before it is made")


def test_the_current_order_is_verified_and_the_old_orders_vector_fails() -> None:
    inbound = ZendeskInbound(Secret(SECRET), "shopify")
    stamp, body = "2021-07-25T10:00:00Z", b'{"say": "hello"}'
    then = datetime(2021, 7, 25, 10, 1, tzinfo=UTC)
    current = vector("Rry/4TtIdFyawtXXp8QdI6tlAUUQ/5kL1OTp5qo/ZIk=", stamp, body)
    assert isinstance(inbound.verify(current, then), Verified)
    old = vector("tRDSF7URY8BLCDlaBcQ7FHu051Zk+aAB0NKMP53teMw=", stamp, body)
    assert inbound.verify(old, then) == Refused("the signature does not match")


@pytest.mark.parametrize("secret", ["practice-secret", "old-secret"])
def test_either_of_two_secrets_holds(secret: str) -> None:
    assert isinstance(INBOUND.verify(signed(b"{}", secret=secret), NOW), Verified)


@pytest.mark.parametrize(
    ("_case", "delivery", "reason"),
    [
        ("another secret", signed(b"{}", secret="guessed"), "the signature does not match"),
        ("another body", replace(signed(b"{}"), body=b"{} "), "the signature does not match"),
        ("no signature", Delivery({}, b"{}"), "the signature or its timestamp is missing or cannot be read"),
        ("a strange timestamp", vector("x", "yesterday\udc80", b"{}"), "the signature or its timestamp is missing or cannot be read"),
        ("too old", signed(b"{}", at=NOW - timedelta(seconds=301)), "the signature is not from the last 300 seconds"),
        ("too new", signed(b"{}", at=NOW + timedelta(seconds=301)), "the signature is not from the last 300 seconds"),
        ("no day of the calendar", vector(sign_base64("practice-secret", b"2026-13-45T00:00:00Z{}"), "2026-13-45T00:00:00Z", b"{}"),
         "the signature is not from the last 300 seconds"),
        ("no zone", vector(sign_base64("practice-secret", b"2026-11-25T12:00:00{}"), "2026-11-25T12:00:00", b"{}"),
         "the signature is not from the last 300 seconds"),
    ],
)  # fmt: skip
def test_what_is_not_the_vendors_or_not_fresh_is_refused(_case: str, delivery: Delivery, reason: str) -> None:
    assert INBOUND.verify(delivery, NOW) == Refused(reason)


def test_a_secret_that_everybody_knows_verifies_nothing() -> None:
    for secret in (Secret(), Secret(TEST_SECRET)):
        inbound = ZendeskInbound(secret, "shopify")
        assert inbound.verify(signed(b"{}"), NOW) == Refused("no webhook secret is set")


# ---------------------------------------------------------------- what a delivery is called

CALL: dict[str, Any] = {
    "ticket_id": "4001",
    "order": "#1001",
    "tags": "order_cancellation rf_sent vip",
    "requester_email": "Ada@Customers.example",
    "updated_at": STAMP,
    "updated_by": "Joe.Agent@shop.example",
    "updated_by_id": "902",
}


def called(value: Any) -> bytes:
    return json.dumps(value).encode()


def verified(body: bytes, **more: Any) -> Verified:
    found = INBOUND.verify(signed(body, **more), NOW)
    assert isinstance(found, Verified), found
    return found


def test_a_call_that_is_delivered_again_has_the_same_id_whatever_its_headers() -> None:
    first = verified(called(CALL))
    again = verified(called(CALL), at=NOW + timedelta(seconds=60), invocation="01OTHER")
    assert first == again
    assert first.topic == TRIGGERED
    later = verified(called({**CALL, "updated_at": "2026-11-25T12:30:00Z"}))
    assert later.source_event_id != first.source_event_id


def test_a_call_that_does_not_tell_its_update_is_known_by_its_invocation() -> None:
    body = called({name: value for name, value in CALL.items() if name != "updated_at"})
    assert verified(body) == Verified("01INV", TRIGGERED)
    assert verified(body, invocation="").source_event_id.startswith("sha256:")


def test_a_ticket_event_has_its_own_id_and_topic() -> None:
    body = called({"type": "zen:event-type:ticket.tags_changed", "id": "ev-1", "detail": {}})
    assert verified(body) == Verified("ev-1", "zen:event-type:ticket.tags_changed")


def test_a_body_that_cannot_be_read_is_kept_for_a_person() -> None:
    body = b'{"ticket_id": "4001", "note": "the "big" one"}'
    assert verified(body) == Verified("01INV", TRIGGERED)
    with pytest.raises(MalformedError) as told:
        INBOUND.read_event(TRIGGERED, body)
    assert told.value.field == "$"


# ---------------------------------------------------------------- what it says


def read(**changes: Any) -> Any:
    value = {name: told for name, told in {**CALL, **changes}.items() if told is not ...}
    return INBOUND.read_event(TRIGGERED, called(value))


REQUEST = CancellationRequested(
    OrderRef("shopify", number="#1001"),
    requested_by="joe.agent@shop.example",
    note="asked in Zendesk ticket 4001",
    ticket_id="4001",
)


@pytest.mark.parametrize(
    ("_case", "changes", "request_"),
    [
        ("by an agent", {}, REQUEST),
        ("numbers as numbers", {"ticket_id": 4001, "order": 1001}, replace(REQUEST, order=OrderRef("shopify", number="1001"))),
        ("tags as a list", {"tags": ["VIP", "Order_Cancellation"]}, REQUEST),
        ("with a note", {"note": " by phone "}, replace(REQUEST, note="asked in Zendesk ticket 4001: by phone")),
        ("by the requester", {"updated_by": "ada@customers.example"},
         replace(REQUEST, requested_by="ada@customers.example", is_proven=False)),
        ("by nobody that it names", {"updated_by": "", "updated_by_id": ...},
         replace(REQUEST, requested_by="ada@customers.example", is_proven=False)),
    ],
)  # fmt: skip
def test_a_marked_ticket_with_an_order_number_is_a_request(
    _case: str, changes: dict[str, Any], request_: CancellationRequested
) -> None:
    assert read(**changes) == request_


@pytest.mark.parametrize(
    ("_case", "number"),
    [
        ("of a marketplace", "902-3159896-1390916"),
        ("with a prefix", "SO-1001"),
        ("of a branch", "DE/2026.17_1"),
    ],
)
def test_order_numbers_of_many_shapes_are_taken(_case: str, number: str) -> None:
    assert read(order=f" {number} ").order == OrderRef("shopify", number=number)


@pytest.mark.parametrize(
    ("_case", "changes", "words"),
    [
        ("our own update", {"updated_by": "Refunds@Shop.example"}, "our own update"),
        ("our own, by number", {"updated_by": ..., "updated_by_id": 901}, "our own update"),
        ("our own, and no number", {"updated_by": "refunds@shop.example", "order": ""}, "our own update"),
        ("not marked", {"tags": "order_cancellation_asked vip"}, "does not carry the tag order_cancellation"),
        ("no tags", {"tags": ""}, "does not carry the tag order_cancellation"),
        ("taken up before", {"tags": "order_cancellation refundflow"}, "was taken up before"),
    ],
)  # fmt: skip
def test_what_asks_nothing_is_irrelevant(_case: str, changes: dict[str, Any], words: str) -> None:
    reading = read(**changes)
    assert isinstance(reading, Irrelevant)
    assert words in reading.why


@pytest.mark.parametrize(
    ("_case", "changes", "field"),
    [
        ("no number in the field", {"order": ""}, "order"),
        ("no field", {"order": ...}, "order"),
        ("no text", {"order": ["1001"]}, "order"),
        ("two numbers", {"order": "1001, 1002"}, "order"),
        ("two numbers without a comma", {"order": "1001 1002"}, "order"),
        ("a word", {"order": "yesterday's"}, "order"),
        ("a word that could be one", {"order": "unknown"}, "order"),
        ("not filled in", {"order": "{{ticket.ticket_field_1}}"}, "order"),
        ("too long", {"order": "1" * 42}, "order"),
        ("no ticket", {"ticket_id": ...}, "ticket_id"),
        ("a strange ticket", {"ticket_id": "4001/x"}, "ticket_id"),
        ("no tags at all", {"tags": ...}, "tags"),
    ],
)
def test_a_request_that_is_not_whole_is_for_a_person(_case: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedError) as told:
        read(**changes)
    assert told.value.field == field


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        INBOUND.read_event(TRIGGERED, body)


def event(topic: str, part: Any, **detail: Any) -> Any:
    value = {
        "type": topic,
        "id": "ev-1",
        "detail": {"id": "4001", "actor_id": "902", **detail},
        "event": part,
    }
    return INBOUND.read_event(topic, called(value))


def test_a_ticket_event_of_the_mark_lacks_the_order_number_and_says_so() -> None:
    with pytest.raises(MalformedError, match="let a trigger call the webhook") as told:
        event(f"{EVENT_PREFIX}tags_changed", {"tags_added": ["order_cancellation"]})
    assert told.value.field == "detail.custom_fields"


@pytest.mark.parametrize(
    ("topic", "part", "actor"),
    [
        ("tags_changed", {"tags_added": ["vip"], "tags_removed": ["order_cancellation"]}, "902"),
        ("tags_changed", {"tags_added": ["order_cancellation"]}, "901"),
        ("comment_added", {"comment": {"body": "order_cancellation"}}, "902"),
        ("status_changed", None, "902"),
    ],
)
def test_other_ticket_events_are_irrelevant(topic: str, part: Any, actor: str) -> None:
    assert isinstance(event(EVENT_PREFIX + topic, part, actor_id=actor), Irrelevant)


def test_the_body_of_the_triggers_webhook_asks_for_what_is_read() -> None:
    body = trigger_body("360000000101")
    assert set(body) == set(CALL)
    assert body["order"] == "{{ticket.ticket_field_360000000101}}"
    with pytest.raises(MalformedError):
        INBOUND.read_event(TRIGGERED, called(body))  # never a request while nothing is filled in


def test_order_numbers_are_the_shops_unless_the_credentials_say_otherwise() -> None:
    for named, expected in (("", "shopify"), ("woocommerce", "woocommerce")):
        credentials = Credentials(
            **TOKEN, order_platform=named, webhook_secret=Secret("practice-secret"), agent_id="901"
        )
        inbound = build_inbound(credentials, "shopify")
        reading = inbound.read_event(TRIGGERED, called(CALL))
        assert isinstance(reading, CancellationRequested)
        assert reading.order.platform == expected
        assert isinstance(inbound.verify(signed(called(CALL)), NOW), Verified)
        assert isinstance(
            inbound.read_event(TRIGGERED, called({**CALL, "updated_by": "refunds@shop.example"})), Irrelevant
        )
