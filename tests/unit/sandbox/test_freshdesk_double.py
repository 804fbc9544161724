"""The practice Freshdesk: what it writes, refuses, finds and tells, when search knows it, and what it notes in its book."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.freshdesk import (
    AGENT_ID,
    API_KEY,
    CANCEL_EVENT,
    CANCEL_TAG,
    GROUP_ID,
    SUPPORT_EMAIL,
    TEMPLATE,
    WEBHOOK_HEADER,
    Freshdesk,
)
from tests.support.specs import check_document, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA = "ada@example.com"
TICKET: Record = {
    "subject": "Cancellation of order 1001",
    "description": "<p>Requested in the portal.</p>",
    "email": ADA,
    "status": 2,
    "priority": 2,
    "tags": ["order_cancellation"],
    "custom_fields": {"cf_order_ref": "1001", "cf_rf_case": "c-77"},
}
SECRET = "practice-webhook-secret"


def _basic(user: str, password: str = "X") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Bench:
    """A practice Freshdesk behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Freshdesk], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("freshdesk")
        assert isinstance(vendor, Freshdesk)
        self.desk = vendor

    def _receive(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Result:
        return self.client.simulate_request(
            method,
            f"/freshdesk/api/v2{path}",
            query_string=urlencode(query),
            body=None if body is None else json.dumps(body),
            headers={**_basic(API_KEY), **({} if body is None else {"Content-Type": "application/json"})},
        )

    def create(self, **changes: Any) -> Result:
        asked = {name: value for name, value in {**TICKET, **changes}.items() if value is not None}
        return self.send("POST", "/tickets", asked)

    def ticket(self, **changes: Any) -> int:
        made = self.create(**changes)
        assert made.status_code == 201, made.text
        return int(made.json["id"])

    def seed(self, **data: Any) -> Record:
        return self.world.seed({"freshdesk": data})["freshdesk"]

    def seeded(self, **ticket: Any) -> int:
        return int(self.seed(tickets=[{"email": ADA, **ticket}])["tickets"][0]["id"])

    def settle(self, **data: Any) -> Record:
        return self.world.settle("freshdesk", data)[0]

    def found(self, query: str, **more: Any) -> list[int]:
        result = self.send("GET", "/search/tickets", query=f'"{query}"', **more)
        assert result.status_code == 200, result.text
        return [each["id"] for each in result.json["results"]]

    def listed(self, **query: Any) -> list[int]:
        return [each["id"] for each in self.send("GET", "/tickets", **query).json]

    def book(self, effect: str | None = None) -> list[Record]:
        return self.desk.book.lines(effect)

    def events(self) -> list[Record]:
        self.world.webhooks.wait_idle()
        return [json.loads(body) for _, _, body in self.posted]

    def subscribe(self) -> None:
        self.world.webhooks.subscribe("freshdesk", Subscription("http://rf.example/hooks", SECRET))


@pytest.fixture
def bench() -> Any:
    made = Bench()
    yield made
    made.world.close()


def _codes(result: Result) -> list[tuple[str, str]]:
    assert result.json["description"] == "Validation failed"
    return [(each["field"], each["code"]) for each in result.json["errors"]]


# ---------------------------------------------------------------- creating


def test_a_ticket_is_made_and_noted_once_with_its_new_contact(bench: Bench) -> None:
    result = bench.create()

    assert result.status_code == 201
    ticket = result.json
    assert urlsplit(result.headers["location"]).path == f"/freshdesk/api/v2/tickets/{ticket['id']}"
    assert (ticket["status"], ticket["source"], ticket["description_text"]) == (
        2,
        2,
        "Requested in the portal.",
    )
    assert ticket["custom_fields"]["cf_rf_op"] is None
    contact, made = bench.book()
    assert (contact["effect"], contact["email"], contact["reference"]) == ("create_contact", ADA, "c-77")
    assert made == {
        "at": START.isoformat(),
        "vendor": "freshdesk",
        "effect": "create_ticket",
        "id": str(ticket["id"]),
        "amount_minor": None,
        "currency": None,
        "target": {"ticket": ticket["id"], "requester": int(contact["id"])},
        "reference": "c-77",
        "idempotency_key": None,
        "subject": "Cancellation of order 1001",
        "status": 2,
        "priority": 2,
        "tags": ["order_cancellation"],
        "custom_fields": {
            "cf_order_ref": "1001",
            "cf_rf_case": "c-77",
            "cf_rf_state": None,
            "cf_rf_op": None,
        },
    }


def test_the_same_ticket_sent_twice_is_two_tickets_of_one_contact(bench: Bench) -> None:
    first, second = bench.create().json, bench.create(email="Ada@Example.com").json

    assert first["id"] != second["id"]
    assert first["requester_id"] == second["requester_id"]
    assert len(bench.book("create_ticket")) == 2
    assert len(bench.book("create_contact")) == 1


def test_the_external_id_names_the_requester_and_protects_no_ticket(bench: Bench) -> None:
    made = [bench.create(email=None, unique_external_id="shop-7").json for _ in range(2)]

    assert made[0]["id"] != made[1]["id"]
    assert made[0]["requester_id"] == made[1]["requester_id"]
    assert len(bench.listed(unique_external_id="shop-7")) == 2
    assert len(bench.book("create_ticket")) == 2


def test_a_known_contact_is_taken_by_its_id(bench: Bench) -> None:
    [contact] = bench.seed(contacts=[{"email": ADA, "name": "Ada"}])["contacts"]

    assert bench.create(email=None, requester_id=contact["id"]).json["requester_id"] == contact["id"]
    assert _codes(bench.create(email=None, requester_id=1)) == [("requester_id", "invalid_value")]
    assert [line["effect"] for line in bench.book()] == ["create_ticket"]


@pytest.mark.parametrize(
    ("_case", "changes", "errors"),
    [
        ("no subject", {"subject": None}, [("subject", "missing_field")]),
        ("no description", {"description": None}, [("description", "missing_field")]),
        ("no status, no priority", {"status": None, "priority": None}, [("status", "missing_field"), ("priority", "missing_field")]),
        ("nobody", {"email": None}, [("email", "missing_field")]),
        ("blank subject", {"subject": " "}, [("subject", "invalid_value")]),
        ("long subject", {"subject": "x" * 256}, [("subject", "invalid_value")]),
        ("no e-mail address", {"email": "ada"}, [("email", "invalid_value")]),
        ("e-mail a number", {"email": 7}, [("email", "datatype_mismatch")]),
        ("status a text", {"status": "2"}, [("status", "datatype_mismatch")]),
        ("status unknown", {"status": 9}, [("status", "invalid_value")]),
        ("priority five", {"priority": 5}, [("priority", "invalid_value")]),
        ("priority true", {"priority": True}, [("priority", "datatype_mismatch")]),
        ("source unknown", {"source": 4}, [("source", "invalid_value")]),
        ("type unknown", {"type": "Wish"}, [("type", "invalid_value")]),
        ("tags a text", {"tags": "a,b"}, [("tags", "datatype_mismatch")]),
        ("tag a number", {"tags": [1]}, [("tags", "datatype_mismatch")]),
        ("copies no addresses", {"cc_emails": ["bob"]}, [("cc_emails", "invalid_value")]),
        ("too many copies", {"cc_emails": [ADA] * 51}, [("cc_emails", "invalid_value")]),
        ("no such agent", {"responder_id": 1}, [("responder_id", "invalid_value")]),
        ("no such group", {"group_id": 1}, [("group_id", "invalid_value")]),
        ("unknown field", {"refund": 1}, [("refund", "invalid_field")]),
        ("unknown custom field", {"custom_fields": {"cf_x": "1"}}, [("cf_x", "invalid_field")]),
        ("custom text a number", {"custom_fields": {"cf_order_ref": 1001}}, [("cf_order_ref", "datatype_mismatch")]),
        ("custom text too long", {"custom_fields": {"cf_rf_op": "x" * 256}}, [("cf_rf_op", "invalid_value")]),
        ("custom fields a list", {"custom_fields": []}, [("custom_fields", "datatype_mismatch")]),
    ],
)  # fmt: skip
def test_a_wrong_ticket_is_refused_and_nothing_is_made(
    bench: Bench, _case: str, changes: Record, errors: list[tuple[str, str]]
) -> None:
    result = bench.create(**changes)

    assert result.status_code == 400
    assert _codes(result) == errors
    assert bench.book() == []
    assert bench.desk.tickets == {}
    check_document(specs("freshdesk") / "error.response.schema.json", result.json)


def test_custom_numbers_and_checkboxes_keep_their_types(bench: Bench) -> None:
    bench.seed(
        fields=[
            {"name": "cf_units", "type": "custom_number"},
            {"name": "cf_vip", "type": "custom_checkbox"},
        ]
    )

    assert bench.create(custom_fields={"cf_units": 2, "cf_vip": True}).status_code == 201
    wrong = bench.create(custom_fields={"cf_units": "2", "cf_vip": "yes"})
    assert _codes(wrong) == [("cf_units", "datatype_mismatch"), ("cf_vip", "datatype_mismatch")]


def test_a_desk_may_ask_for_a_source(bench: Bench) -> None:
    bench.seed(habits={"source_required": True})

    assert _codes(bench.create()) == [("source", "missing_field")]
    assert bench.create(source=2).status_code == 201


# ---------------------------------------------------------------- at the door


@pytest.mark.parametrize(
    ("_case", "headers"),
    [
        ("none", {}),
        ("another key", _basic("other")),
        ("the agent's password", _basic("refundflow@practice.example", "secret")),
        ("a bearer", {"Authorization": f"Bearer {API_KEY}"}),
        ("no base64", {"Authorization": "Basic %%%"}),
        ("no colon", {"Authorization": "Basic " + base64.b64encode(API_KEY.encode()).decode()}),
    ],
)
def test_bad_credentials_are_a_401(bench: Bench, _case: str, headers: dict[str, str]) -> None:
    result = bench.client.simulate_post(
        "/freshdesk/api/v2/tickets",
        body=json.dumps(TICKET),
        headers={**headers, "Content-Type": "application/json"},
    )

    assert (result.status_code, result.json["code"]) == (401, "invalid_credentials")
    assert bench.book() == []


def test_any_password_goes_with_the_key(bench: Bench) -> None:
    headers = _basic(API_KEY, "whatever")

    assert bench.client.simulate_get("/freshdesk/api/v2/agents/me", headers=headers).status_code == 200


def test_the_agents_own_profile_tells_the_scope(bench: Bench) -> None:
    bench.seed(agent={"ticket_scope": 2})
    agent = bench.send("GET", "/agents/me").json

    assert (agent["id"], agent["ticket_scope"], agent["group_ids"]) == (AGENT_ID, 2, [GROUP_ID])
    assert agent["contact"]["email"] == "refundflow@practice.example"


@pytest.mark.parametrize(("scope", "own", "groups", "others"), [(2, 200, 200, 403), (3, 200, 403, 403)])
def test_a_narrow_scope_hides_the_tickets_of_others(
    bench: Bench, scope: int, own: int, groups: int, others: int
) -> None:
    ids = [bench.seeded(responder_id=AGENT_ID), bench.seeded(group_id=GROUP_ID), bench.seeded()]
    bench.seed(agent={"ticket_scope": scope})

    results = [bench.send("GET", f"/tickets/{each}") for each in ids]
    assert [each.status_code for each in results] == [own, groups, others]
    assert results[2].json["code"] == "access_denied"
    assert len(bench.listed()) == [own, groups, others].count(200)
    assert bench.send("POST", f"/tickets/{ids[2]}/reply", {"body": "x"}).status_code == 403
    assert bench.book() == []


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_what_is_no_json_is_a_415(bench: Bench, content_type: str) -> None:
    headers = {**_basic(API_KEY), **({"Content-Type": content_type} if content_type else {})}
    result = bench.client.simulate_post("/freshdesk/api/v2/tickets", body=json.dumps(TICKET), headers=headers)

    assert (result.status_code, set(result.json)) == (415, {"message"})
    assert bench.book() == []


@pytest.mark.parametrize("body", ["{", "[]", "null", ""])
def test_broken_json_is_a_400(bench: Bench, body: str) -> None:
    headers = {**_basic(API_KEY), "Content-Type": "application/json"}
    result = bench.client.simulate_post("/freshdesk/api/v2/tickets", body=body, headers=headers)

    assert (result.status_code, result.json["code"]) == (400, "invalid_json")


def test_unknown_paths_are_an_empty_404_and_wrong_methods_a_405(bench: Bench) -> None:
    number = bench.ticket()
    unknown = [
        bench.send("GET", "/tickets/1"),
        bench.send("GET", "/tickets/abc"),
        bench.send("GET", "/nothing"),
        bench.client.simulate_get("/freshdesk/helpdesk/tickets.json", headers=_basic(API_KEY)),
        bench.send("POST", "/tickets/1/reply", {"body": "x"}),
    ]
    wrong = bench.send("PUT", "/tickets", {"status": 4})

    assert [(each.status_code, each.text) for each in unknown] == [(404, "")] * 5
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
    assert set(wrong.json) == {"message"}
    assert bench.send("GET", f"/tickets/{number}/reply").status_code == 405
    assert len(bench.book()) == 2


def test_every_answer_tells_the_accounts_limit_and_includes_cost_more(bench: Bench) -> None:
    number = bench.seeded()
    plain = bench.send("GET", "/agents/me").headers
    ticket = bench.send("GET", f"/tickets/{number}", include="requester,stats").headers
    listed = bench.send("GET", "/tickets", include="requester,stats").headers
    wrong = bench.send("GET", "/tickets", page=0)

    used = [each["x-ratelimit-used-currentrequest"] for each in (plain, ticket, listed, wrong.headers)]
    assert used == ["1", "3", "5", "1"]
    assert wrong.status_code == 400
    assert plain["x-ratelimit-total"] == "700"
    assert wrong.headers["x-ratelimit-remaining"] == "690"
    bench.now += timedelta(minutes=1)
    assert bench.send("GET", "/agents/me").headers["x-ratelimit-remaining"] == "699"


def test_beyond_the_limit_is_a_429_until_the_minute_is_over(bench: Bench) -> None:
    bench.seed(habits={"calls_per_minute": 2, "limit_enforced": True})
    bench.now += timedelta(seconds=20)
    statuses = [bench.create().status_code for _ in range(2)]
    refused = bench.create()

    assert statuses == [201, 201]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert set(refused.json) == {"message"}
    assert len(bench.book("create_ticket")) == 2
    bench.now += timedelta(seconds=40)
    assert bench.create().status_code == 201


# ---------------------------------------------------------------- updating


def test_an_update_replaces_the_tags_and_merges_the_custom_fields(bench: Bench) -> None:
    number = bench.ticket(tags=["order_cancellation", "vip"])
    bench.now += timedelta(minutes=5)
    asked = {
        "status": 4,
        "tags": ["rf_refunded", "rf_refunded"],
        "custom_fields": {"cf_rf_state": "refunded", "cf_rf_op": "9f0c"},
    }
    result = bench.send("PUT", f"/tickets/{number}", asked)

    assert result.status_code == 200
    ticket = result.json
    assert (ticket["status"], ticket["tags"], ticket["updated_at"]) == (
        4,
        ["rf_refunded"],
        "2026-11-23T12:05:00Z",
    )
    assert ticket["custom_fields"] == {
        "cf_order_ref": "1001",
        "cf_rf_case": "c-77",
        "cf_rf_state": "refunded",
        "cf_rf_op": "9f0c",
    }
    [line] = bench.book("update_ticket")
    assert (line["id"], line["target"], line["reference"]) == (str(number), {"ticket": number}, "9f0c")
    assert (line["sent"], line["changed"]) == (asked, ["custom_fields", "status", "tags"])


def test_an_update_that_sets_nothing_new_changes_nothing(bench: Bench) -> None:
    number = bench.ticket()
    bench.now += timedelta(minutes=5)
    result = bench.send("PUT", f"/tickets/{number}", {"status": 2, "tags": TICKET["tags"]})

    assert (result.status_code, result.json["updated_at"]) == (200, "2026-11-23T12:00:00Z")
    assert [line["changed"] for line in bench.book("update_ticket")] == [[]]


@pytest.mark.parametrize(
    ("_case", "asked", "errors"),
    [
        ("nothing", {}, [("request", "missing_field")]),
        ("a message", {"body": "<p>Refunded</p>"}, [("body", "invalid_field")]),
        ("an id", {"id": 7}, [("id", "invalid_field")]),
        ("an unknown status", {"status": 42}, [("status", "invalid_value")]),
        ("an unknown custom field", {"custom_fields": {"cf_x": 1}}, [("cf_x", "invalid_field")]),
    ],
)
def test_a_wrong_update_is_refused(
    bench: Bench, _case: str, asked: Record, errors: list[tuple[str, str]]
) -> None:
    number = bench.seeded()
    result = bench.send("PUT", f"/tickets/{number}", asked)

    assert result.status_code == 400
    assert _codes(result) == errors
    assert bench.book() == []


@pytest.mark.parametrize("status", [4, 5])
def test_a_field_required_on_close_is_asked_for_when_resolving(bench: Bench, status: int) -> None:
    bench.seed(fields=[{"name": "cf_outcome", "required_for_closure": True}])
    number = bench.seeded()
    refused = bench.send("PUT", f"/tickets/{number}", {"status": status})

    assert _codes(refused) == [("cf_outcome", "missing_field")]
    assert bench.send("PUT", f"/tickets/{number}", {"status": 3}).status_code == 200
    closed = bench.send(
        "PUT", f"/tickets/{number}", {"status": status, "custom_fields": {"cf_outcome": "ok"}}
    )
    assert (closed.status_code, closed.json["status"]) == (200, status)
    assert _codes(bench.create(status=status)) == [("cf_outcome", "missing_field")]
    fields = {each["name"]: each for each in bench.send("GET", "/ticket_fields").json}
    assert (fields["cf_outcome"]["required_for_closure"], fields["cf_rf_op"]["required_for_closure"]) == (
        True,
        False,
    )


def test_a_status_of_the_accounts_own_is_listed_and_taken(bench: Bench) -> None:
    bench.seed(statuses={"8": "At the warehouse"})
    [status] = [each for each in bench.send("GET", "/ticket_fields").json if each["name"] == "status"]

    assert (status["choices"]["8"][0], status["choices"]["5"][0]) == ("At the warehouse", "Closed")
    assert bench.create(status=8).status_code == 201


def test_a_closed_ticket_can_be_answered_changed_and_reopened(bench: Bench) -> None:
    number = bench.seeded(status=5)

    assert bench.send("POST", f"/tickets/{number}/reply", {"body": "<p>Refunded</p>"}).status_code == 201
    assert bench.send("POST", f"/tickets/{number}/notes", {"body": "x", "private": True}).status_code == 201
    assert bench.send("PUT", f"/tickets/{number}", {"tags": ["rf_refunded"]}).json["status"] == 5
    assert bench.send("PUT", f"/tickets/{number}", {"status": 2}).json["status"] == 2
    assert [line["effect"] for line in bench.book()] == [
        "send_reply",
        "add_note",
        "update_ticket",
        "update_ticket",
    ]


@pytest.mark.parametrize("flag", ["is_deleted", "is_spam"])
@pytest.mark.parametrize(("status", "body"), [(405, {"message"}), (409, {"code", "message"})])
def test_deleted_and_spam_tickets_can_only_be_read(
    bench: Bench, flag: str, status: int, body: set[str]
) -> None:
    bench.seed(habits={"trashed_status": status})
    number = bench.seeded()
    bench.settle(ticket=number, **{flag: True})
    refused = [
        bench.send("PUT", f"/tickets/{number}", {"status": 4}),
        bench.send("POST", f"/tickets/{number}/reply", {"body": "x"}),
        bench.send("POST", f"/tickets/{number}/notes", {"body": "x"}),
    ]

    assert [(each.status_code, set(each.json)) for each in refused] == [(status, body)] * 3
    assert bench.send("GET", f"/tickets/{number}").json[flag.removeprefix("is_")] is True
    assert bench.listed() == []
    assert bench.listed(filter=flag.removeprefix("is_")) == [number]
    assert bench.book() == []


def test_an_archived_ticket_is_gone_from_reads_lists_and_search(bench: Bench) -> None:
    number = bench.seeded(status=5, is_archived=True)

    assert bench.send("GET", f"/tickets/{number}").status_code == 404
    assert bench.send("PUT", f"/tickets/{number}", {"status": 2}).status_code == 404
    assert bench.listed(updated_since="2020-01-01T00:00:00Z") == []
    assert bench.found("status:5") == []


# ---------------------------------------------------------------- messages


def test_a_reply_is_mailed_and_noted_once(bench: Bench) -> None:
    number = bench.ticket()
    bench.now += timedelta(seconds=30)
    body = "<p>Your refund of 42.50 EUR was issued.</p><p>Ref RF-c77-3</p>"
    result = bench.send("POST", f"/tickets/{number}/reply", {"body": body, "bcc_emails": []})

    assert result.status_code == 201
    assert (result.json["replied_to"], result.json["user_id"]) == ([ADA], AGENT_ID)
    assert (result.json["from_email"], result.json["ticket_id"]) == (SUPPORT_EMAIL, number)
    [line] = bench.book("send_reply")
    assert (line["id"], line["target"], line["reference"]) == (
        str(result.json["id"]),
        {"ticket": number},
        "RF-c77-3",
    )
    assert (line["to"], line["text"]) == (
        [ADA],
        "Your refund of 42.50 EUR was issued. Ref RF-c77-3",
    )
    [seen] = bench.send("GET", f"/tickets/{number}/conversations").json
    assert (seen["body"], seen["private"], seen["incoming"], seen["source"]) == (body, False, False, 0)
    ticket = bench.send("GET", f"/tickets/{number}", include="stats").json
    assert (ticket["status"], ticket["updated_at"]) == (2, "2026-11-23T12:00:30Z")
    assert ticket["stats"]["first_responded_at"] == "2026-11-23T12:00:30Z"


def test_a_reply_sent_twice_is_mailed_twice(bench: Bench) -> None:
    number = bench.seeded()
    for _ in range(2):
        bench.send("POST", f"/tickets/{number}/reply", {"body": "Ref RF-1"})

    assert [line["reference"] for line in bench.book("send_reply")] == ["RF-1", "RF-1"]
    assert len(bench.send("GET", f"/tickets/{number}/conversations").json) == 2


def test_a_requester_without_address_gets_no_mail(bench: Bench) -> None:
    number = bench.ticket(email=None, unique_external_id="shop-7")
    result = bench.send("POST", f"/tickets/{number}/reply", {"body": "x"})

    assert (result.status_code, result.json["replied_to"]) == (201, [])
    assert [line["to"] for line in bench.book("send_reply")] == [[]]


def test_a_note_is_private_unless_said_otherwise(bench: Bench) -> None:
    number = bench.seeded()
    notes = [
        bench.send("POST", f"/tickets/{number}/notes", {"body": "<p>op 9f0c &amp; more</p>", **more})
        for more in ({}, {"private": True}, {"private": False, "notify_emails": ["eve@example.com"]})
    ]

    assert [(each.status_code, each.json["private"]) for each in notes] == [
        (201, True),
        (201, True),
        (201, False),
    ]
    assert notes[2].json["notified_to"] == ["eve@example.com"]
    lines = bench.book("add_note")
    assert [(line["private"], line["to"]) for line in lines] == [
        (True, []),
        (True, []),
        (False, ["eve@example.com"]),
    ]
    assert {line["text"] for line in lines} == {"op 9f0c & more"}
    assert bench.book("send_reply") == []


@pytest.mark.parametrize(
    ("_case", "kind", "asked", "errors"),
    [
        ("no body", "reply", {}, [("body", "missing_field")]),
        ("blank body", "reply", {"body": " "}, [("body", "invalid_value")]),
        ("body no text", "reply", {"body": 1}, [("body", "datatype_mismatch")]),
        ("private reply", "reply", {"body": "x", "private": True}, [("private", "invalid_field")]),
        ("strange sender", "reply", {"body": "x", "from_email": "me@else.example"}, [("from_email", "invalid_value")]),
        ("sender a number", "reply", {"body": "x", "from_email": 1}, [("from_email", "datatype_mismatch")]),
        ("copies no list", "reply", {"body": "x", "bcc_emails": ADA}, [("bcc_emails", "datatype_mismatch")]),
        ("no such agent", "reply", {"body": "x", "user_id": 1}, [("user_id", "invalid_value")]),
        ("no body", "notes", {}, [("body", "missing_field")]),
        ("private a text", "notes", {"body": "x", "private": "true"}, [("private", "datatype_mismatch")]),
        ("copies of a note", "notes", {"body": "x", "cc_emails": [ADA]}, [("cc_emails", "invalid_field")]),
    ],
)  # fmt: skip
def test_a_wrong_message_is_refused_and_nothing_is_sent(
    bench: Bench, _case: str, kind: str, asked: Record, errors: list[tuple[str, str]]
) -> None:
    number = bench.seeded()
    result = bench.send("POST", f"/tickets/{number}/{kind}", asked)

    assert result.status_code == 400
    assert _codes(result) == errors
    assert bench.book() == []


@pytest.mark.parametrize(("keeps", "is_seen"), [(False, False), (True, True)])
def test_hidden_comments_do_not_survive_unless_the_desk_keeps_them(
    bench: Bench, keeps: bool, is_seen: bool
) -> None:
    bench.seed(habits={"keeps_comments": keeps}, support_emails=["orders@practice.example"])
    number = bench.seeded()
    body = "<p>Hello</p><!-- Ref RF-1 --><script>x()</script>"
    bench.send("POST", f"/tickets/{number}/reply", {"body": body, "from_email": "orders@practice.example"})

    [seen] = bench.send("GET", f"/tickets/{number}/conversations").json
    assert ("RF-1" in seen["body"], "script" in seen["body"]) == (is_seen, False)
    assert (seen["body_text"], seen["from_email"]) == ("Hello", "orders@practice.example")


def test_conversations_come_in_pages_and_an_include_shows_the_oldest_ten(bench: Bench) -> None:
    number = bench.seeded(conversations=[{"body": f"m{i}", "is_incoming": i % 2 == 0} for i in range(35)])
    first = bench.send("GET", f"/tickets/{number}/conversations")
    url = urlsplit(first.headers["link"].partition(">")[0].lstrip("<"))
    second = bench.client.simulate_get(url.path, query_string=url.query, headers=_basic(API_KEY))

    assert [len(first.json), len(second.json)] == [30, 5]
    assert first.headers["link"].endswith('; rel="next"')
    assert "link" not in second.headers
    assert [each["body"] for each in second.json] == [f"m{i}" for i in range(30, 35)]
    embedded = bench.send("GET", f"/tickets/{number}", include="conversations,requester").json
    assert [each["body"] for each in embedded["conversations"]] == [f"m{i}" for i in range(10)]
    assert embedded["requester"]["email"] == ADA
    assert _codes(bench.send("GET", f"/tickets/{number}", include="all")) == [("include", "invalid_value")]
    assert _codes(bench.send("GET", f"/tickets/{number}/conversations", per_page=101)) == [
        ("per_page", "invalid_value")
    ]
    assert bench.book() == []


def test_messages_may_show_late_and_leave_the_time_of_the_ticket(bench: Bench) -> None:
    bench.seed(habits={"conversations_delay_s": 5, "messages_touch": False})
    number = bench.seeded()
    bench.now += timedelta(seconds=10)
    bench.send("POST", f"/tickets/{number}/reply", {"body": "Ref RF-1"})

    assert bench.send("GET", f"/tickets/{number}/conversations").json == []
    bench.now += timedelta(seconds=5)
    assert len(bench.send("GET", f"/tickets/{number}/conversations").json) == 1
    assert bench.send("GET", f"/tickets/{number}").json["updated_at"] == "2026-11-23T12:00:00Z"


# ---------------------------------------------------------------- finding


def test_search_finds_a_new_ticket_only_after_its_delay(bench: Bench) -> None:
    number = bench.ticket()

    bench.now += timedelta(seconds=179)
    assert bench.found("cf_order_ref:'1001'") == []
    assert bench.listed(updated_since="2026-11-23T12:00:00Z") == [number]
    bench.now += timedelta(seconds=1)
    assert bench.found("cf_order_ref:'1001'") == [number]


def test_search_picks_by_what_it_knew_and_shows_what_is(bench: Bench) -> None:
    number = bench.seeded(tags=["order_cancellation"])
    bench.send("PUT", f"/tickets/{number}", {"status": 4, "tags": ["rf_refunded"]})

    [seen] = bench.send("GET", "/search/tickets", query="\"tag:'order_cancellation' AND status:2\"").json[
        "results"
    ]
    assert (seen["id"], seen["status"], seen["tags"]) == (number, 4, ["rf_refunded"])
    assert "description" not in seen
    bench.now += timedelta(seconds=180)
    assert bench.found("tag:'order_cancellation'") == []
    assert bench.found("tag:'rf_refunded' AND status:4") == [number]


def test_search_reads_and_or_parentheses_comparisons_and_null(bench: Bench) -> None:
    bench.seed(fields=[{"name": "cf_vip", "type": "custom_checkbox"}])
    old = bench.seeded(created_at="2026-11-01T08:00:00Z", priority=1, tags=["a", "b"], type="Refund")
    new = bench.seeded(priority=4, status=3, tags=["b"], custom_fields={"cf_vip": True})
    bare = bench.seeded(priority=2)

    assert bench.found("tag:'b'") == [new, old]
    assert bench.found("tag:'a' OR priority:>4") == [new, old]
    assert bench.found("(tag:'a' OR tag:'b') AND priority:<2") == [old]
    assert bench.found("priority:2 OR tag:'b' AND status:3") == [bare, new]
    assert bench.found("tag:null") == [bare]
    assert bench.found("created_at:<'2026-11-10'") == [old]
    assert bench.found("created_at:'2026-11-23' AND cf_vip:true") == [new]
    assert bench.found("type:'Refund' AND agent_id:null") == [old]


@pytest.mark.parametrize(
    ("_case", "query", "error"),
    [
        ("no query", {}, ("query", "invalid_value")),
        ("no quotes", {"query": "status:2"}, ("query", "invalid_value")),
        ("single quotes", {"query": "'status:2'"}, ("query", "invalid_value")),
        ("513 characters", {"query": f"\"tag:'{'x' * 507}'\""}, ("query", "invalid_value")),
        ("nothing in it", {"query": '""'}, ("query", "invalid_value")),
        ("half of it", {"query": '"status:2 AND"'}, ("query", "invalid_value")),
        ("open parenthesis", {"query": '"(status:2"'}, ("query", "invalid_value")),
        ("two terms", {"query": '"status:2 status:3"'}, ("query", "invalid_value")),
        ("a quote inside", {"query": "\"tag:'o'brien'\""}, ("query", "invalid_value")),
        ("unknown field", {"query": "\"subject:'x'\""}, ("subject", "invalid_field")),
        ("unknown custom field", {"query": "\"cf_x:'1'\""}, ("cf_x", "invalid_field")),
        ("text without quotes", {"query": '"cf_order_ref:1001"'}, ("cf_order_ref", "datatype_mismatch")),
        ("number in quotes", {"query": "\"status:'2'\""}, ("status", "datatype_mismatch")),
        ("text compared", {"query": "\"tag:>'a'\""}, ("tag", "invalid_value")),
        ("page eleven", {"query": '"status:2"', "page": 11}, ("page", "invalid_value")),
        ("page size", {"query": '"status:2"', "per_page": 100}, ("per_page", "invalid_field")),
    ],
)  # fmt: skip
def test_a_wrong_search_is_refused(bench: Bench, _case: str, query: Record, error: tuple[str, str]) -> None:
    result = bench.send("GET", "/search/tickets", **query)

    assert (result.status_code, _codes(result)) == (400, [error])


def test_search_gives_thirty_a_page_and_the_total(bench: Bench) -> None:
    bench.seed(tickets=[{"email": ADA} for _ in range(31)])
    pages = [bench.send("GET", "/search/tickets", query='"status:2"', page=i).json for i in (1, 2, 3)]

    assert [(each["total"], len(each["results"])) for each in pages] == [(31, 30), (31, 1), (31, 0)]


def test_a_list_has_the_young_tickets_unless_a_time_is_given(bench: Bench) -> None:
    old = bench.seeded(created_at="2026-09-01T08:00:00Z", updated_at="2026-11-20T08:00:00Z")
    new = bench.seeded(created_at="2026-11-22T08:00:00Z")

    assert bench.listed() == [new]
    assert bench.listed(updated_since="2026-11-20T08:00:00Z", order_by="updated_at") == [new, old]
    assert bench.listed(updated_since="2026-11-20T09:00:01+01:00") == [new]
    assert bench.listed(updated_since="2026-01-01T00:00:00Z", order_type="asc") == [old, new]


def test_a_list_leads_from_page_to_page_and_hides_descriptions(bench: Bench) -> None:
    bench.seed(tickets=[{"email": ADA, "description": f"d{i}"} for i in range(3)])
    first = bench.send("GET", "/tickets", per_page=2, updated_since="2026-11-01T00:00:00Z")
    url = urlsplit(first.headers["link"].partition(">")[0].lstrip("<"))
    second = bench.client.simulate_get(url.path, query_string=url.query, headers=_basic(API_KEY))

    assert [len(first.json), len(second.json)] == [2, 1]
    assert "link" not in second.headers
    assert not any("description" in each for each in first.json)
    shown = bench.send("GET", "/tickets", include="description,requester,stats").json
    assert [each["description"] for each in shown] == ["d2", "d1", "d0"]
    assert shown[0]["requester"]["email"] == ADA


def test_a_list_is_narrowed_to_a_requester(bench: Bench) -> None:
    number = bench.seeded()
    requester = bench.seed(tickets=[{"email": "bob@example.com"}])["tickets"][0]["requester_id"]

    assert bench.listed(email=ADA) == [number]
    assert len(bench.listed(requester_id=requester)) == 1
    assert _codes(bench.send("GET", "/tickets", email="eve@example.com")) == [("email", "invalid_value")]
    bench.seed(habits={"unknown_requester_refused": False})
    assert bench.listed(email="eve@example.com") == []


def test_filters_of_the_list_and_a_list_that_lags(bench: Bench) -> None:
    mine, theirs = bench.seeded(responder_id=AGENT_ID), bench.seeded(status=5)
    bench.seed(habits={"list_delay_s": 2})
    late = bench.ticket()

    assert bench.listed(order_type="asc") == [mine, theirs]
    bench.now += timedelta(seconds=2)
    assert bench.listed(order_type="asc") == [mine, theirs, late]
    assert bench.listed(filter="new_and_my_open", order_type="asc") == [mine, late]
    assert bench.listed(filter="watching") == []


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"status": 2}, ("status", "invalid_field")),
        ({"per_page": 0}, ("per_page", "invalid_value")),
        ({"per_page": 101}, ("per_page", "invalid_value")),
        ({"page": 301}, ("page", "invalid_value")),
        ({"filter": "all"}, ("filter", "invalid_value")),
        ({"order_by": "subject"}, ("order_by", "invalid_value")),
        ({"order_type": "up"}, ("order_type", "invalid_value")),
        ({"include": "conversations"}, ("include", "invalid_value")),
        ({"updated_since": "yesterday"}, ("updated_since", "datatype_mismatch")),
    ],
)
def test_a_wrong_list_is_refused(bench: Bench, query: Record, error: tuple[str, str]) -> None:
    result = bench.send("GET", "/tickets", **query)

    assert (result.status_code, _codes(result)) == (400, [error])


# ---------------------------------------------------------------- faults


def test_a_reply_whose_answer_was_lost_is_found_among_the_conversations(bench: Bench) -> None:
    number = bench.seeded()
    bench.world.faults.add(Fault(Kind.LOST_REPLY, "freshdesk", "create_reply"))

    with pytest.raises(ConnectionCutError):
        bench.send("POST", f"/tickets/{number}/reply", {"body": "Ref RF-c77-3"})
    [seen] = bench.send("GET", f"/tickets/{number}/conversations").json
    assert "RF-c77-3" in seen["body_text"]
    assert len(bench.book("send_reply")) == 1


def test_a_lost_request_a_429_and_a_500_send_nothing(bench: Bench) -> None:
    number = bench.seeded()
    bench.world.faults.add(Fault(Kind.LOST_REQUEST, "freshdesk", "create_reply"))
    bench.world.faults.add(Fault(Kind.STATUS, "freshdesk", "create_reply", status=429))
    bench.world.faults.add(Fault(Kind.STATUS, "freshdesk", "create_reply", status=500))

    def reply() -> Result:
        return bench.send("POST", f"/tickets/{number}/reply", {"body": "x"})

    with pytest.raises(ConnectionCutError):
        reply()
    limited, broken = reply(), reply()
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "30")
    assert set(limited.json) == {"message"}
    assert (broken.status_code, set(broken.json)) == (500, {"code", "message"})
    assert bench.book() == []


@pytest.mark.parametrize(
    ("code", "status", "body"),
    [
        ("", 403, {"code", "message"}),
        ("account_suspended", 403, {"code", "message"}),
        ("inconsistent_state", 409, {"code", "message"}),
        ("duplicate_value", 409, {"description", "errors"}),
        ("readonly_field", 400, {"description", "errors"}),
    ],
)
def test_a_refusal_on_demand_has_the_vendors_shape(
    bench: Bench, code: str, status: int, body: set[str]
) -> None:
    bench.world.faults.add(Fault(Kind.REFUSE, "freshdesk", "create_ticket", code=code))
    result = bench.create()

    assert (result.status_code, set(result.json)) == (status, body)
    assert bench.book() == []
    check_document(specs("freshdesk") / "error.response.schema.json", result.json)


def test_a_ticket_refused_as_not_there_or_not_logged_in(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.REFUSE, "freshdesk", "create_ticket", code="not_found"))
    bench.world.faults.add(Fault(Kind.REFUSE_AUTH, "freshdesk", "create_ticket"))

    absent, stranger = bench.create(), bench.create()
    assert (absent.status_code, absent.text, stranger.status_code) == (404, "", 401)
    assert bench.book() == []


# ---------------------------------------------------------------- people and rules


def test_a_cancellation_that_arrives_is_told_with_the_secret_in_a_header(bench: Bench) -> None:
    bench.subscribe()
    made = bench.settle(
        arrives={"email": ADA, "tags": [CANCEL_TAG, "web"], "custom_fields": {"cf_order_ref": "1001"}}
    )

    [event] = bench.events()
    assert event == {
        "source": "freshdesk",
        "event": CANCEL_EVENT,
        "ticket_id": str(made["ticket"]),
        "ticket_status": "Open",
        "ticket_tags": f"{CANCEL_TAG}, web",
        "requester_email": ADA,
        "order_ref": "1001",
        "updated_at": "2026-11-23T12:00:00Z",
    }
    check_document(specs("freshdesk") / "inbound_webhook.request.schema.json", event)
    assert bench.posted[0][1] == {"Content-Type": "application/json", WEBHOOK_HEADER: SECRET}
    assert bench.book() == []


@pytest.mark.parametrize(("secret", "pair"), [("key-1", "key-1:X"), ("rf:word", "rf:word")])
def test_a_webhook_may_carry_basic_credentials_instead(bench: Bench, secret: str, pair: str) -> None:
    bench.seed(habits={"webhook_auth": "basic"})
    number = bench.seeded(tags=[CANCEL_TAG])
    event = bench.desk.event_for(CANCEL_EVENT, str(number))
    delivery = bench.desk.sign(event, "http://rf.example", secret)

    assert delivery.headers == {
        "Content-Type": "application/json",
        "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
    }
    assert json.loads(delivery.body)["ticket_id"] == str(number)
    assert event.id == bench.desk.event_for(CANCEL_EVENT, str(number)).id


def test_an_event_about_nothing_is_refused(bench: Bench) -> None:
    number = bench.seeded()

    with pytest.raises(NoSuchObjectError, match="no rule that posts 'other'"):
        bench.desk.event_for("other", str(number))
    with pytest.raises(NoSuchObjectError, match="no ticket '1'"):
        bench.desk.event_for(CANCEL_EVENT, "1")


def test_a_tag_set_by_a_person_is_told_once_and_one_set_by_us_is_not(bench: Bench) -> None:
    bench.subscribe()
    theirs, ours = bench.seeded(), bench.seeded()
    bench.settle(ticket=theirs, change={"tags": [CANCEL_TAG]})
    bench.settle(ticket=theirs, change={"priority": 4})
    bench.send("PUT", f"/tickets/{ours}", {"tags": [CANCEL_TAG]})

    assert [each["ticket_id"] for each in bench.events()] == [str(theirs)]


def test_a_creation_rule_tells_of_our_own_ticket_too(bench: Bench) -> None:
    bench.subscribe()
    number = bench.ticket(tags=[CANCEL_TAG])

    assert [each["ticket_id"] for each in bench.events()] == [str(number)]


def test_a_careless_rule_tells_of_every_act_of_ours(bench: Bench) -> None:
    rule = {"name": "careless", "when": "any", "ignores_api": False, "event": CANCEL_EVENT}
    assert bench.seed(rules=[rule])["rules"] == ["careless"]
    number = bench.seeded()
    bench.subscribe()
    bench.send("PUT", f"/tickets/{number}", {"status": 3})
    bench.send("PUT", f"/tickets/{number}", {"status": 3})
    bench.send("POST", f"/tickets/{number}/notes", {"body": "x", "private": True})
    bench.send("POST", f"/tickets/{number}/reply", {"body": "x"})
    bench.settle(ticket=number, says="Thank you")

    assert [each["ticket_status"] for each in bench.events()] == ["Pending", "Pending", "Pending", "Open"]


def test_a_rule_of_the_desks_own_works_against_us_and_is_noted(bench: Bench) -> None:
    bench.seed(
        rules=[
            {
                "name": "reopen refunded",
                "tag": "rf_refunded",
                "ignores_api": False,
                "add_tags": ["check"],
                "status": 2,
                "note": "Please check",
            }
        ]
    )
    number = bench.seeded()
    answered = bench.send("PUT", f"/tickets/{number}", {"status": 4, "tags": ["rf_refunded"]}).json
    ticket = bench.send("GET", f"/tickets/{number}", include="conversations").json

    assert (answered["status"], answered["tags"]) == (4, ["rf_refunded"])
    assert (ticket["status"], ticket["tags"]) == (2, ["rf_refunded", "check"])
    assert [each["body"] for each in ticket["conversations"]] == ["Please check"]
    assert [line["effect"] for line in bench.book()] == ["update_ticket", "apply_rule"]


@pytest.mark.parametrize(("cascades", "times"), [(False, 1), (True, 11)])
def test_rules_that_set_each_other_off_stop_after_ten_rounds(
    bench: Bench, cascades: bool, times: int
) -> None:
    rule = {"name": "loop", "when": "any", "ignores_api": False, "event": "changed", "note": "again"}
    bench.seed(rules=[rule], habits={"rules_cascade": cascades})
    number = bench.seeded()
    bench.subscribe()
    bench.send("PUT", f"/tickets/{number}", {"priority": 3})

    assert len(bench.book("apply_rule")) == times
    assert len(bench.events()) == times


def test_free_text_in_a_webhook_body_breaks_the_json(bench: Bench) -> None:
    body = TEMPLATE.replace("{{ticket.status}}", "{{ ticket.subject }}{{ticket.nothing}}")
    bench.seed(rules=[{"name": "free text", "event": "told", "body": body}])
    numbers = [bench.seeded(subject="Cancel"), bench.seeded(subject='Cancel "now"')]
    calm, broken = (bench.desk.event_for("told", str(each)).payload for each in numbers)

    assert json.loads(calm)["ticket_status"] == "Cancel"
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(broken)


@pytest.mark.parametrize(("reopens", "status"), [(True, 2), (False, 4)])
def test_an_answer_of_the_requester_comes_in_and_opens_the_ticket(
    bench: Bench, reopens: bool, status: int
) -> None:
    bench.seed(habits={"says_reopens": reopens})
    number = bench.seeded(status=4)

    assert bench.settle(ticket=number, says="Where is <my> money?")["status"] == status
    [seen] = bench.send("GET", f"/tickets/{number}/conversations").json
    assert (seen["incoming"], seen["body_text"], seen["from_email"]) == (True, "Where is <my> money?", ADA)
    assert bench.book() == []


def test_what_cannot_be_settled_or_seeded_says_why(bench: Bench) -> None:
    archived = bench.seeded(is_archived=True)

    with pytest.raises(NoSuchObjectError):
        bench.settle(ticket=1, says="x")
    with pytest.raises(ValueError, match="archived"):
        bench.settle(ticket=archived, says="x")
    with pytest.raises(ValueError, match="invalid_value"):
        bench.settle(ticket=archived, change={"status": 42})
    with pytest.raises(ValueError, match="settles"):
        bench.settle(ticket=archived, is_lost=True)
    wrongs: list[tuple[Record, str]] = [
        ({"tickets": [{"subject": "nobody"}]}, "missing_field"),
        ({"habits": {"speed": 1}}, "speed"),
        ({"fields": [{"name": "cf_x", "type": "date"}]}, "field type 'date'"),
        ({"fields": [{}]}, "name"),
        ({"rules": [{"name": "x", "on": "friday"}]}, "a rule runs"),
    ]
    for wrong, why in wrongs:
        with pytest.raises(ValueError, match=why):
            bench.seed(**wrong)


def test_a_reset_forgets_tickets_rules_and_book(bench: Bench) -> None:
    number = bench.ticket()
    bench.seed(rules=[])
    bench.world.reset("freshdesk")

    assert bench.send("GET", f"/tickets/{number}").status_code == 404
    assert (bench.book(), len(bench.desk.rules)) == ([], 2)


# ---------------------------------------------------------------- the published shapes


def test_answers_fit_the_described_shapes(bench: Bench) -> None:
    folder = specs("freshdesk")
    created = bench.create()
    number = created.json["id"]
    bench.now += timedelta(minutes=10)
    answers: dict[str, Result] = {
        "create_ticket": created,
        "create_reply": bench.send("POST", f"/tickets/{number}/reply", {"body": "x", "bcc_emails": []}),
        "create_note": bench.send("POST", f"/tickets/{number}/notes", {"body": "x", "private": True}),
        "update_ticket": bench.send("PUT", f"/tickets/{number}", {"status": 4}),
        "get_ticket": bench.send("GET", f"/tickets/{number}", include="conversations"),
        "list_tickets": bench.send("GET", "/tickets"),
        "list_conversations": bench.send("GET", f"/tickets/{number}/conversations"),
        "search_tickets": bench.send("GET", "/search/tickets", query="\"tag:'order_cancellation'\""),
    }

    for name, answer in answers.items():
        check_document(_schema(folder, name), answer.json)
    assert answers["search_tickets"].json["total"] == 1
    for refusal in (
        bench.create(status=9),
        bench.send("PUT", "/tickets", {}),
        bench.send("POST", "/tickets"),
    ):
        check_document(_schema(folder, "error"), refusal.json)


def _schema(folder: Path, name: str) -> Path:
    return folder / f"{name}.response.schema.json"
