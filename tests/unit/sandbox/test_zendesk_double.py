"""The practice Zendesk: tickets made and changed, what is refused, what can be found again, what it tells, and its book."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.zendesk import (
    ACCESS_TOKEN,
    AGENT_ID,
    API_TOKEN,
    CONDITIONAL,
    EMAIL,
    EVENT_PREFIX,
    LOOPING_TRIGGER,
    ORDER_FIELD,
    PERSON_ID,
    SENT_TAG,
    TAG,
    Zendesk,
    signature_of,
)
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = "practice-webhook-secret"
ADA = {"name": "Ada Buyer", "email": "ada@example.com"}
CLOSED = {
    "error": "RecordInvalid",
    "description": "Record validation errors",
    "details": {"status": [{"description": "Status: closed prevents ticket update"}]},
}


def _basic(user: str = f"{EMAIL}/token", password: str = API_TOKEN) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Desk:
    """A practice Zendesk behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Zendesk], clock=lambda: self.now, send=self._send)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("zendesk")
        assert isinstance(vendor, Zendesk)
        self.zendesk = vendor

    def _send(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **params: Any
    ) -> Result:
        sent = {**_basic(), "Content-Type": "application/json", **(headers or {})}
        text = None if body is None else json.dumps(body)
        return self.client.simulate_request(
            method,
            f"/zendesk/api/v2/{path}",
            body=text,
            headers=sent,
            params={name.replace("__", "[") + "]" if "__" in name else name: v for name, v in params.items()},
        )

    def get(self, path: str, **params: Any) -> Record:
        result = self.call("GET", path, **params)
        assert result.status_code == 200, result.json
        answer: Record = result.json
        return answer

    def create(self, key: str = "", **more: Any) -> Result:
        ticket = {
            "subject": "Cancellation of order 1001",
            "external_id": "RF-77",
            "requester": ADA,
            "comment": {"body": "We received your request.", "public": True},
            "metadata": {"refundflow_op": "9f0c"},
            **more,
        }
        kept = {name: value for name, value in ticket.items() if value is not None}
        return self.call(
            "POST", "tickets", {"ticket": kept}, headers={"Idempotency-Key": key} if key else None
        )

    def update(self, number: int, **ticket: Any) -> Result:
        return self.call("PUT", f"tickets/{number}", {"ticket": ticket})

    def seed(self, **ticket: Any) -> int:
        made = self.world.seed(
            {"zendesk": {"tickets": [{"comment": "Please cancel 1001", "requester": ADA, **ticket}]}}
        )
        number: int = made["zendesk"]["tickets"][0]
        return number

    def arrange(self, **data: Any) -> None:
        self.world.seed({"zendesk": data})

    def settle(self, number: int, **what: Any) -> Record:
        [done] = self.world.settle("zendesk", {"ticket": number, **what})
        return done

    def ticket(self, number: int) -> Record:
        found: Record = self.get(f"tickets/{number}")["ticket"]
        return found

    def book(self, effect: str | None = None) -> list[Record]:
        return self.zendesk.book.lines(effect)

    def subscribe(self) -> None:
        self.world.webhooks.subscribe("zendesk", Subscription("http://rf.example/hooks/zendesk", SECRET))

    def delivered(self) -> list[Record]:
        """The bodies posted so far."""
        self.world.webhooks.wait_idle()
        return [json.loads(body) for _, _, body in self.posted]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.world.close()


def _without_nulls(value: Any) -> Any:
    """The published description forgets that most properties may be null."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- who calls


def test_users_me_says_who_the_credentials_belong_to(desk: Desk) -> None:
    me = desk.get("users/me")["user"]

    assert (me["id"], me["email"], me["role"]) == (AGENT_ID, EMAIL, "agent")
    assert desk.get("users/me.json")["user"] == me


def test_users_me_without_credentials_is_a_200_about_nobody(desk: Desk) -> None:
    answer = desk.client.simulate_get("/zendesk/api/v2/users/me")

    assert answer.status_code == 200
    assert answer.json["user"]["id"] is None
    assert desk.client.simulate_get("/zendesk/api/v2/tickets").status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        _basic(EMAIL, API_TOKEN),
        _basic(f"{EMAIL}/token", "other"),
        _basic("other@practice.example/token", API_TOKEN),
        {"Authorization": "Basic nonsense!"},
        {"Authorization": f"Token {API_TOKEN}"},
    ],
)
def test_wrong_credentials_are_a_401_everywhere(desk: Desk, header: dict[str, str]) -> None:
    for path in ("users/me", "tickets"):
        answer = desk.call("GET", path, headers=header)
        assert (answer.status_code, answer.json) == (401, {"error": "Couldn't authenticate you"})


def test_an_access_token_needs_the_scope(desk: Desk) -> None:
    bearer = {"Authorization": f"Bearer {ACCESS_TOKEN}"}
    number = desk.seed()

    assert desk.call("GET", f"tickets/{number}/audits", headers=bearer).status_code == 200
    desk.arrange(scopes=["tickets:read"])
    assert desk.call("GET", f"tickets/{number}", headers=bearer).status_code == 200
    assert desk.call("GET", f"tickets/{number}/audits", headers=bearer).status_code == 403
    denied = desk.call("PUT", f"tickets/{number}", {"ticket": {"subject": "x"}}, headers=bearer)
    assert (denied.status_code, denied.json["error"]["title"]) == (403, "Forbidden")
    other = desk.call("GET", "tickets", headers={"Authorization": "Bearer other"})
    assert (other.status_code, other.json["error"]) == (401, "invalid_token")


# ---------------------------------------------------------------- making tickets


def test_a_ticket_is_made_with_its_first_comment_and_noted_once(desk: Desk) -> None:
    answer = desk.create(key="op-1", tags=["RF_Opened"], custom_fields=[{"id": ORDER_FIELD, "value": "1001"}])

    assert answer.status_code == 201
    ticket, audit = answer.json["ticket"], answer.json["audit"]
    number = ticket["id"]
    assert answer.headers["location"].endswith(f"/zendesk/api/v2/tickets/{number}.json")
    assert answer.headers["x-idempotency-lookup"] == "miss"
    assert (ticket["status"], ticket["external_id"], ticket["tags"]) == ("new", "RF-77", ["rf_opened"])
    assert ticket["custom_fields"] == [{"id": ORDER_FIELD, "value": "1001"}]
    assert ticket["description"] == "We received your request."
    assert ticket["updated_at"] == "2026-11-24T12:00:00Z"
    assert audit["metadata"]["custom"] == {"refundflow_op": "9f0c"}
    assert desk.book() == [
        {
            "at": START.isoformat(),
            "vendor": "zendesk",
            "effect": "create_ticket",
            "id": str(number),
            "amount_minor": None,
            "currency": None,
            "target": {"ticket": str(number), "followup_of": None},
            "reference": "RF-77",
            "idempotency_key": "op-1",
            "metadata": {"refundflow_op": "9f0c"},
            "requester": "ada@example.com",
            "tags": ["rf_opened"],
            "status": "new",
            "public": True,
            "text": "We received your request.",
        }
    ]


def test_a_requester_is_found_by_address_or_made(desk: Desk) -> None:
    first = desk.create().json["ticket"]
    second = desk.create(requester={"email": "ADA@example.com"}).json["ticket"]

    assert second["requester_id"] == first["requester_id"]
    assert first["submitter_id"] == AGENT_ID
    assert desk.create(requester=None).json["ticket"]["requester_id"] == AGENT_ID
    by_id = desk.create(requester=None, requester_id=first["requester_id"]).json["ticket"]
    assert by_id["requester_id"] == first["requester_id"]


@pytest.mark.parametrize(
    ("more", "status", "field"),
    [
        ({"comment": None}, 422, "base"),
        ({"comment": {"body": "  "}}, 422, "base"),
        ({"requester": {"email": "new@example.com"}}, 422, "requester"),
        ({"requester": {"name": "Ada", "email": "nowhere"}}, 422, "requester"),
        ({"requester": None, "requester_id": 5}, 422, "requester"),
        ({"status": "refunded"}, 422, "status"),
        ({"priority": "highest"}, 422, "priority"),
        ({"assignee_id": 5}, 422, "assignee"),
        ({"comment": {"body": "x", "author_id": 5}}, 422, "author"),
        ({"comment": "x"}, 400, ""),
        ({"comment": {"body": "x", "public": "no"}}, 400, ""),
        ({"comment": {"body": 7}}, 400, ""),
        ({"tags": "a b"}, 400, ""),
        ({"external_id": ["x"]}, 400, ""),
        ({"custom_fields": {"1": "x"}}, 400, ""),
        ({"metadata": "x"}, 400, ""),
        ({"via_followup_source_id": "x"}, 400, ""),
    ],
)
def test_what_the_vendor_does_not_take_makes_no_ticket(
    desk: Desk, more: Record, status: int, field: str
) -> None:
    answer = desk.create(**more)

    assert answer.status_code == status
    if field:
        assert answer.json["error"] == "RecordInvalid"
        assert list(answer.json["details"]) == [field]
    else:
        assert answer.json["error"]["title"] == "Invalid attribute"
    assert desk.book() == []
    assert desk.get("tickets")["tickets"] == []


def test_an_end_user_is_no_assignee(desk: Desk) -> None:
    buyer = desk.create().json["ticket"]["requester_id"]

    assert desk.create(assignee_id=buyer).json["details"]["assignee"]
    assert desk.create(assignee_id=PERSON_ID).json["ticket"]["assignee_id"] == PERSON_ID


def test_a_body_that_is_no_ticket_is_refused(desk: Desk) -> None:
    headers = {**_basic(), "Content-Type": "application/json"}
    broken = desk.client.simulate_post("/zendesk/api/v2/tickets", body="{", headers=headers)

    assert (broken.status_code, broken.json["message"]) == (422, "Server could not parse JSON")
    assert desk.call("POST", "tickets", {"comment": {"body": "x"}}).status_code == 400
    form = {**_basic(), "Content-Type": "application/x-www-form-urlencoded"}
    assert desk.client.simulate_post("/zendesk/api/v2/tickets", body="a=b", headers=form).status_code == 400


def test_a_key_is_good_for_two_hours_and_then_makes_a_second_ticket(desk: Desk) -> None:
    first = desk.create(key="op-1")
    desk.update(first.json["ticket"]["id"], subject="Other")
    desk.now += timedelta(hours=2, seconds=-1)
    again = desk.create(key="op-1")

    assert (again.status_code, again.headers["x-idempotency-lookup"]) == (201, "hit")
    assert again.json == first.json
    assert again.headers["location"] == first.headers["location"]
    assert len(desk.book("create_ticket")) == 1
    desk.now += timedelta(seconds=1)
    late = desk.create(key="op-1")
    assert late.headers["x-idempotency-lookup"] == "miss"
    assert late.json["ticket"]["id"] != first.json["ticket"]["id"]
    assert len(desk.book("create_ticket")) == 2
    assert len(desk.get("tickets", external_id="RF-77")["tickets"]) == 2


def test_a_key_with_another_body_is_an_error(desk: Desk) -> None:
    desk.create(key="op-1")
    other = desk.create(key="op-1", subject="Other")

    assert (other.status_code, other.json["error"]) == (400, "IdempotentRequestError")
    assert len(desk.book()) == 1


def test_a_refused_creation_does_not_use_the_key_up(desk: Desk) -> None:
    assert desk.create(key="op-1", comment=None).status_code == 422
    assert desk.create(key="op-1").status_code == 201


def test_without_a_key_and_on_updates_nothing_is_idempotent(desk: Desk) -> None:
    number = desk.create().json["ticket"]["id"]
    answer = desk.create()
    for _ in range(2):
        desk.call(
            "PUT",
            f"tickets/{number}",
            {"ticket": {"comment": {"body": "Refunded"}}},
            headers={"Idempotency-Key": "op-2"},
        )

    assert "x-idempotency-lookup" not in answer.headers
    assert len(desk.book("create_ticket")) == 2
    assert len(desk.book("add_comment")) == 2


# ---------------------------------------------------------------- comments


def test_a_comment_is_public_as_the_first_one_was_unless_said(desk: Desk) -> None:
    number = desk.create(comment={"body": "Internal", "public": False}).json["ticket"]["id"]

    desk.update(number, comment={"body": "Silent"})
    assert desk.ticket(number)["is_public"] is False
    desk.update(number, comment={"body": "Loud", "public": True})
    shown = desk.get(f"tickets/{number}/comments")["comments"]
    assert [(each["body"], each["public"]) for each in shown] == [
        ("Internal", False),
        ("Silent", False),
        ("Loud", True),
    ]
    assert desk.ticket(number)["is_public"] is True
    assert [each["public"] for each in desk.book("add_comment")] == [False, True]


def test_a_body_loses_markup_and_layout_where_html_keeps_it(desk: Desk) -> None:
    number = desk.seed()

    desk.update(number, comment={"body": "a  b\n\n<b>c</b>"})
    desk.update(number, comment={"html_body": "<p>a  b</p><p><b>c</b> &amp; d</p>"})
    plain, rich = desk.get(f"tickets/{number}/comments")["comments"][1:]
    assert plain["body"] == "a b\nc"
    assert rich["html_body"] == "<p>a  b</p><p><b>c</b> &amp; d</p>"
    assert rich["plain_body"] == "a  b\nc & d"


def test_placeholders_are_filled_in_for_agents_only(desk: Desk) -> None:
    number = desk.seed(external_id="RF-77")
    buyer = desk.ticket(number)["requester_id"]
    text = "{{ticket.external_id}}|{{fake}}|\\\\{{ticket.id}}"

    desk.update(number, comment={"body": text})
    desk.update(number, comment={"body": text, "author_id": buyer})
    desk.update(number, comment={"html_body": "<code>{{ticket.id}}</code>{{ticket.title}}"})
    shown = desk.get(f"tickets/{number}/comments")["comments"][1:]
    assert [each["body"] for each in shown] == ["RF-77||{{ticket.id}}", text, "{{ticket.id}}"]


def test_a_long_body_is_cut_in_silence(desk: Desk) -> None:
    number = desk.seed()

    assert desk.update(number, comment={"body": "é" * 40_000}).status_code == 200
    assert len(desk.get(f"tickets/{number}/comments")["comments"][1]["body"]) == 32_768


def test_a_full_ticket_takes_no_comment_but_other_changes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refundflow.sandbox.zendesk.COMMENTS_MOST", 2)
    number = desk.seed()

    assert desk.update(number, comment={"body": "two"}).status_code == 200
    assert desk.update(number, comment={"body": "three"}).status_code == 422
    assert desk.update(number, priority="high").status_code == 200


# ---------------------------------------------------------------- updates


def test_an_update_answers_with_ticket_and_audit_and_each_effect_is_noted(desk: Desk) -> None:
    number = desk.seed(external_id="RF-77")
    answer = desk.update(
        number,
        comment={"body": "Refund of 42.50 EUR issued.", "public": True},
        status="pending",
        custom_fields=[{"id": ORDER_FIELD, "value": "1001"}, {"id": 5, "value": "unknown"}],
        metadata={"refundflow_op": "op-2"},
        nonsense=1,
    )

    assert answer.status_code == 200
    assert answer.json["ticket"]["status"] == "pending"
    kinds = [(each["type"], each.get("field_name")) for each in answer.json["audit"]["events"]]
    assert kinds == [("Change", "status"), ("Change", str(ORDER_FIELD)), ("Comment", None)]
    audit = desk.get(f"tickets/{number}/audits")["audits"][-1]
    assert audit == answer.json["audit"]
    assert audit["metadata"]["custom"] == {"refundflow_op": "op-2"}
    assert desk.get(f"tickets/{number}/comments")["comments"][-1]["audit_id"] == audit["id"]
    changed, said = desk.book()
    assert (changed["effect"], changed["reference"]) == ("update_ticket", "RF-77")
    assert changed["changes"] == {"status": "pending", str(ORDER_FIELD): "1001"}
    assert changed["metadata"] == said["metadata"] == {"refundflow_op": "op-2"}
    assert (said["effect"], said["reference"], said["public"]) == ("add_comment", "RF-77", True)
    assert (said["text"], said["author"]) == ("Refund of 42.50 EUR issued.", AGENT_ID)


def test_an_update_that_changes_nothing_leaves_no_trace_or_an_audit_by_habit(desk: Desk) -> None:
    number = desk.seed()
    desk.now += timedelta(minutes=1)
    answer = desk.update(number, status="open", metadata={"refundflow_op": "op-2"})

    assert (answer.status_code, answer.json["audit"]["events"]) == (200, [])
    assert desk.ticket(number)["updated_at"] == "2026-11-24T12:00:00Z"
    assert len(desk.get(f"tickets/{number}/audits")["audits"]) == 1
    desk.arrange(habits={"keeps_empty_audits": True})
    desk.update(number, status="open", metadata={"refundflow_op": "op-2"})
    assert len(desk.get(f"tickets/{number}/audits")["audits"]) == 2
    assert desk.book() == []


def test_tags_in_an_update_replace_all_tags(desk: Desk) -> None:
    number = desk.seed(tags=["vip", "gift"])
    desk.update(number, tags=["Order Cancellation", "vip"])

    assert desk.ticket(number)["tags"] == ["order", "cancellation", "vip"]
    desk.arrange(habits={"splits_tags": False})
    desk.update(number, tags=["Gift Wrap"])
    assert desk.ticket(number)["tags"] == ["gift_wrap"]


def test_a_ticket_is_not_solved_without_an_assignee_and_required_fields(desk: Desk) -> None:
    desk.arrange(fields=[{"id": 7, "title": "Reason", "is_required": True}])
    number = desk.seed()
    refused = desk.update(number, status="solved")

    assert refused.status_code == 422
    assert [each["description"] for each in refused.json["details"]["base"]] == [
        "Assignee: is required when solving a ticket",
        "Reason: is required when solving a ticket",
    ]
    assert desk.book() == []
    reason = [{"id": 7, "value": "cancelled"}]
    solved = desk.update(number, status="solved", assignee_id=AGENT_ID, custom_fields=reason)
    assert solved.json["ticket"]["status"] == "solved"
    desk.arrange(habits={"needs_assignee_to_solve": False})
    assert desk.update(desk.seed(custom_fields={7: "x"}), status="solved").status_code == 200


def test_a_safe_update_needs_the_tickets_own_stamp(desk: Desk) -> None:
    number = desk.seed()
    stamp = desk.ticket(number)["updated_at"]
    desk.now += timedelta(seconds=5)
    desk.settle(number, comment="Any news?")

    late = desk.update(number, subject="Late", safe_update=True, updated_stamp=stamp)
    assert (late.status_code, late.json["error"]) == (409, "UpdateConflict")
    assert desk.update(number, subject="x", safe_update=True).status_code == 400
    assert desk.update(number, subject="x", safe_update=True, updated_stamp="soon").status_code == 400
    assert desk.book() == []
    fresh = desk.ticket(number)["updated_at"]
    assert desk.update(number, subject="Fresh", safe_update=True, updated_stamp=fresh).status_code == 200


def test_safe_update_false_protects_like_true_unless_by_habit(desk: Desk) -> None:
    number = desk.seed()
    old = "2026-11-24T11:00:00Z"

    assert desk.update(number, subject="a", safe_update=False, updated_stamp=old).status_code == 409
    desk.arrange(habits={"false_is_safe": False})
    assert desk.update(number, subject="a", safe_update=False, updated_stamp=old).status_code == 200
    assert desk.update(number, subject="b", updated_stamp=old).status_code == 200


def test_two_updates_in_one_second_have_the_same_stamp(desk: Desk) -> None:
    number = desk.seed()
    stamp = desk.ticket(number)["updated_at"]

    for text in ("one", "two"):
        said = desk.update(number, comment={"body": text}, safe_update=True, updated_stamp=stamp)
        assert said.status_code == 200
        desk.now += timedelta(milliseconds=300)
    assert len(desk.book("add_comment")) == 2


def test_a_ticket_takes_thirty_updates_in_ten_minutes(desk: Desk) -> None:
    number = desk.seed()
    for i in range(30):
        assert desk.update(number, subject=f"s{i}").status_code == 200
        desk.now += timedelta(seconds=1)

    limited = desk.update(number, subject="one more")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "571")
    assert limited.headers["x-rate-limit-remaining"] == "0"
    assert limited.text == "Number of allowed API requests per minute exceeded"
    assert desk.update(desk.seed(), subject="another ticket").status_code == 200
    desk.now += timedelta(seconds=571)
    assert desk.update(number, subject="one more").status_code == 200


# ---------------------------------------------------------------- the tag endpoints


def test_tags_are_added_set_and_removed(desk: Desk) -> None:
    number = desk.seed(tags=["vip"], external_id="RF-77")
    path = f"tickets/{number}/tags"

    added = desk.call("PUT", path, {"tags": ["RF_Refunded", "vip"]})
    assert (added.status_code, added.json) == (200, {"tags": ["vip", "rf_refunded"]})
    removed = desk.call("DELETE", path, {"tags": ["vip", "absent"]})
    assert (removed.status_code, removed.text) == (204, "")
    put = desk.call("POST", path, {"tags": ["one"]})
    assert (put.status_code, put.json) == (201, {"tags": ["one"]})
    assert desk.get(path) == {"tags": ["one"]}
    lines = desk.book("update_tags")
    assert [(each["added"], each["removed"]) for each in lines] == [
        (["rf_refunded"], []),
        ([], ["vip"]),
        (["one"], ["rf_refunded"]),
    ]
    assert {each["reference"] for each in lines} == {"RF-77"}
    assert len(desk.get(f"tickets/{number}/audits")["audits"]) == 4


def test_a_tag_that_is_there_or_absent_already_is_no_effect(desk: Desk) -> None:
    number = desk.seed(tags=["vip"])

    assert desk.call("PUT", f"tickets/{number}/tags", {"tags": ["vip"]}).status_code == 200
    assert desk.call("DELETE", f"tickets/{number}/tags", {"tags": ["absent"]}).status_code == 204
    assert desk.book() == []
    assert desk.call("PUT", f"tickets/{number}/tags", {"tags": "vip"}).status_code == 400


def test_tags_take_a_safe_update_with_the_vendors_text_true(desk: Desk) -> None:
    number = desk.seed()
    body = {"tags": ["a"], "safe_update": "true", "updated_stamp": "2026-11-24T11:00:00Z"}

    assert desk.call("PUT", f"tickets/{number}/tags", body).status_code == 409
    assert desk.call("DELETE", f"tickets/{number}/tags", body).status_code == 409
    body["updated_stamp"] = desk.ticket(number)["updated_at"]
    assert desk.call("PUT", f"tickets/{number}/tags", body).status_code == 200


# ---------------------------------------------------------------- closed tickets and follow-ups


def test_a_closed_ticket_takes_nothing_any_more(desk: Desk) -> None:
    number = desk.seed(status="closed", tags=["vip"])

    for answer in (
        desk.update(number, comment={"body": "x"}),
        desk.update(number, status="open"),
        *(desk.call(method, f"tickets/{number}/tags", {"tags": ["a"]}) for method in ("PUT", "POST")),
        desk.call("DELETE", f"tickets/{number}/tags", {"tags": ["vip"]}),
    ):
        assert (answer.status_code, answer.json) == (422, CLOSED)
    assert desk.ticket(number)["status"] == "closed"
    assert desk.book() == []


def test_a_follow_up_names_its_source_and_inherits_the_tags(desk: Desk) -> None:
    old = desk.seed(status="closed", tags=[TAG, SENT_TAG], external_id="RF-77")
    made = desk.create(via_followup_source_id=old, submitter_id=PERSON_ID).json["ticket"]

    assert made["via"]["source"]["rel"] == "follow_up"
    assert made["via"]["source"]["from"]["ticket_id"] == old
    assert made["tags"] == [TAG, SENT_TAG]
    assert made["submitter_id"] == AGENT_ID
    assert desk.ticket(old)["followup_ids"] == [made["id"]]
    [line] = desk.book()
    assert line["target"] == {"ticket": str(made["id"]), "followup_of": str(old)}
    own = desk.create(via_followup_source_id=old, tags=["own"]).json["ticket"]
    assert own["tags"] == ["own"]


def test_a_follow_up_of_a_ticket_that_is_not_closed_is_an_ordinary_ticket(desk: Desk) -> None:
    open_ticket = desk.seed(status="solved", assignee_id=AGENT_ID, tags=["vip"])
    made = desk.create(via_followup_source_id=open_ticket).json["ticket"]

    assert made["via"]["source"]["rel"] is None
    assert made["tags"] == []
    assert desk.book()[0]["target"]["followup_of"] is None


def test_the_desk_closes_what_was_solved_long_ago(desk: Desk) -> None:
    number = desk.seed(status="solved", assignee_id=AGENT_ID)

    desk.now += timedelta(hours=96, seconds=-1)
    assert desk.ticket(number)["status"] == "solved"
    desk.now += timedelta(seconds=1)
    assert desk.update(number, comment={"body": "x"}).json == CLOSED
    desk.arrange(habits={"closes_solved_after_h": None})
    kept = desk.seed(status="solved", assignee_id=AGENT_ID)
    desk.now += timedelta(days=30)
    assert desk.ticket(kept)["status"] == "solved"


# ---------------------------------------------------------------- finding again


def test_tickets_are_found_by_external_id_at_once_unless_archived_or_deleted(desk: Desk) -> None:
    made = desk.create().json["ticket"]["id"]
    gone, archived = desk.seed(external_id="RF-77"), desk.seed(external_id="RF-77", is_archived=True)
    desk.seed(external_id="RF-78")
    desk.settle(gone, is_deleted=True)

    found = desk.get("tickets", external_id="RF-77")
    assert [each["id"] for each in found["tickets"]] == [made]
    assert desk.get("tickets", external_id="RF-7")["tickets"] == []
    assert desk.ticket(archived)["external_id"] == "RF-77"
    absent = desk.call("GET", f"tickets/{gone}")
    assert (absent.status_code, absent.json) == (
        404,
        {"error": "RecordNotFound", "description": "Not found"},
    )


def test_search_lags_behind_what_was_made_and_changed(desk: Desk) -> None:
    made = desk.create().json["ticket"]["id"]
    query = 'type:ticket external_id:"RF-77"'

    assert desk.get("search", query=query)["count"] == 0
    desk.now += timedelta(seconds=60)
    [found] = desk.get("search", query=query)["results"]
    assert (found["id"], found["result_type"], found["status"]) == (made, "ticket", "new")
    desk.update(made, status="open")
    assert desk.get("search", query=query)["results"][0]["status"] == "new"
    desk.now += timedelta(seconds=60)
    assert desk.get("search", query=query)["results"][0]["status"] == "open"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("type:ticket", 2),
        ("type:user", 0),
        ("tags:vip", 1),
        ("tags:vip tags:gift", 0),
        ("status:closed", 1),
        ("status<closed", 1),
        (f"custom_field_{ORDER_FIELD}:1001", 1),
        ("requester:ada@example.com", 2),
        ('"please cancel"', 2),
        ("nothing", 0),
    ],
)
def test_search_reads_properties_and_words(desk: Desk, query: str, count: int) -> None:
    desk.seed(tags=["vip"], custom_fields={ORDER_FIELD: "1001"})
    desk.seed(status="closed")

    assert desk.get("search", query=query)["count"] == count


def test_search_refuses_what_it_cannot_read_and_pages_past_its_limit(desk: Desk) -> None:
    for _ in range(3):
        desk.seed(external_id="RF-77")

    page = desk.get("search", query="external_id:RF-77", per_page=2, page=2)
    assert (len(page["results"]), page["count"], page["next_page"]) == (1, 3, None)
    assert "page=1" in page["previous_page"]
    past = desk.call("GET", "search", query="type:ticket", per_page=100, page=11)
    assert (past.status_code, past.json["error"]) == (422, "invalid")
    assert desk.call("GET", "search", query="").status_code == 422
    assert desk.call("GET", "search", query="created>2026-01-01").status_code == 422
    assert desk.call("GET", "search", query="flavour:sweet").status_code == 422
    assert desk.call("GET", "search", query="x", sort_by="colour").status_code == 400
    assert desk.call("GET", "search", query="x", page="two").status_code == 400
    in_order = desk.get("search", query="type:ticket", sort_by="created_at", sort_order="asc")["results"]
    assert [each["id"] for each in in_order] == sorted(each["id"] for each in in_order)


def test_comments_and_audits_come_in_pages_by_cursor_or_number(desk: Desk) -> None:
    number = desk.seed()
    for text in ("b", "c"):
        desk.update(number, comment={"body": text})

    path, seen = f"/zendesk/api/v2/tickets/{number}/comments?page[size]=2&sort=-created_at", []
    while path:
        url = urlsplit(path)
        page = desk.client.simulate_get(url.path, query_string=url.query, headers=_basic()).json
        seen.append([each["body"] for each in page["comments"]])
        path = page["links"]["next"]
    assert seen == [["c", "b"], ["Please cancel 1001"]]
    assert page["meta"]["has_more"] is False
    by_number = desk.get(f"tickets/{number}/audits", per_page=2)
    assert (len(by_number["audits"]), by_number["count"]) == (2, 3)
    assert by_number["next_page"].startswith("http://falconframework.org/zendesk/api/v2/tickets/")
    last = desk.get(f"tickets/{number}/audits", sort_order="desc", per_page=1)["audits"]
    assert last[0]["events"][0]["body"] == "c"
    for params in (
        {"page__size": 101},
        {"page__after": "x"},
        {"sort": "id"},
        {"sort_order": "up"},
        {"per_page": 0},
    ):
        assert desk.call("GET", f"tickets/{number}/comments", **params).status_code == 400


def test_paths_and_ids_that_are_none_are_told_apart(desk: Desk) -> None:
    unknown = desk.call("GET", "tickets/show_many")
    assert (unknown.status_code, unknown.json["error"]["title"]) == (400, "Invalid attribute")
    assert desk.call("GET", "tickets/999").json["error"] == "RecordNotFound"
    nowhere = desk.call("GET", "nowhere")
    assert (nowhere.status_code, nowhere.json["error"]) == (404, "InvalidEndpoint")


# ---------------------------------------------------------------- triggers and webhooks


def test_the_trigger_calls_once_for_a_ticket_that_a_person_tags(desk: Desk) -> None:
    desk.subscribe()
    number = desk.seed(external_id="RF-77", custom_fields={ORDER_FIELD: "1001"})
    desk.settle(number, add_tags=["Order_Cancellation"])
    desk.update(number, comment={"body": "We are on it."})

    assert desk.delivered() == [
        {
            "ticket_id": str(number),
            "external_id": "RF-77",
            "order": "1001",
            "status": "Open",
            "tags": f"{TAG} {SENT_TAG}",
            "requester_email": "ada@example.com",
            "updated_at": "2026-11-24T12:00:00Z",
            "updated_by": "ada.agent@practice.example",
        }
    ]
    [line] = desk.book("run_trigger")
    assert (line["id"], line["reference"], line["updater"]) == (str(number), "RF-77", PERSON_ID)
    event = desk.get(f"tickets/{number}/audits")["audits"][1]["events"][-1]
    assert (event["field_name"], event["via"]["channel"]) == ("tags", "rule")


def test_a_ticket_made_with_the_tag_fires_the_trigger_too(desk: Desk) -> None:
    desk.subscribe()
    made = desk.create(tags=[TAG]).json["ticket"]

    assert made["tags"] == [TAG, SENT_TAG]
    [body] = desk.delivered()
    assert (body["ticket_id"], body["updated_by"]) == (str(made["id"]), EMAIL)


def test_an_unguarded_trigger_fires_on_every_update_of_ours(desk: Desk) -> None:
    desk.arrange(triggers=[LOOPING_TRIGGER])
    desk.subscribe()
    number = desk.seed(tags=[TAG])
    for i in range(3):
        desk.update(number, comment={"body": f"answer {i}"})

    assert len(desk.delivered()) == 3
    assert len({headers["X-Zendesk-Webhook-Invocation-Id"] for _, headers, _ in desk.posted}) == 3
    assert len(desk.book("run_trigger")) == 3


def test_a_trigger_may_leave_our_own_user_out(desk: Desk) -> None:
    desk.arrange(triggers=[{**LOOPING_TRIGGER, "not_by": [AGENT_ID]}])
    desk.subscribe()
    number = desk.seed(tags=[TAG])
    desk.update(number, comment={"body": "ours"})
    desk.settle(number, comment="theirs")

    assert [each["updated_by"] for each in desk.delivered()] == ["ada.agent@practice.example"]


def test_triggers_set_each_other_off_but_each_runs_once_per_update(desk: Desk) -> None:
    desk.arrange(
        triggers=[
            {"title": "second", "any_tags": ["refunded"], "remove_tags": ["start"], "notifies": False},
            {"title": "first", "any_tags": ["start"], "add_tags": ["refunded"], "status": "pending"},
        ]
    )
    number = desk.seed()
    answer = desk.call("PUT", f"tickets/{number}/tags", {"tags": ["start"]})

    assert answer.json == {"tags": ["refunded"]}
    assert desk.ticket(number)["status"] == "pending"
    assert [each["title"] for each in desk.book("run_trigger")] == ["first", "second"]


def test_our_own_template_makes_the_body(desk: Desk) -> None:
    desk.arrange(body={"ticket": {"id": "{{ticket.id}}", "n": 1}, "list": ["{{ticket.latest_comment}}"]})
    number = desk.seed(comment='He said "no"')
    event = desk.zendesk.event_for(CONDITIONAL, str(number))

    body = json.loads(desk.zendesk.sign(event, "http://rf.example", SECRET).body)
    assert body == {"ticket": {"id": str(number), "n": 1}, "list": ['He said "no"']}


def test_an_event_webhook_is_told_of_each_change_and_not_by_triggers(desk: Desk) -> None:
    desk.arrange(habits={"is_event_webhook": True})
    desk.subscribe()
    number = desk.seed(tags=["vip"])
    desk.settle(number, add_tags=[TAG], remove_tags=["vip"], status="pending", comment="Cancel, please")
    desk.update(number, custom_fields=[{"id": ORDER_FIELD, "value": "1001"}])
    made = desk.create().json["ticket"]["id"]
    desk.settle(made, is_deleted=True)

    told = desk.delivered()
    kinds = [each["type"].removeprefix(EVENT_PREFIX) for each in told]
    assert kinds == [
        "comment_added",
        "tags_changed",
        "status_changed",
        "custom_field_changed",
        "created",
        "soft_deleted",
    ]
    assert told[1]["event"]["tags_added"] == [TAG, SENT_TAG]
    assert told[1]["event"]["tags_removed"] == ["vip"]
    assert (told[2]["event"]["current"], told[2]["event"]["previous"]) == ("PENDING", "OPEN")
    assert told[3]["event"]["current"] == "1001"
    sequences = [each["event"]["meta"]["sequence"] for each in told]
    assert [each["position"] for each in sequences] == [1, 2, 3, 1, 1, 1]
    assert len({each["id"] for each in sequences[:3]}) == 1
    assert (told[0]["detail"]["actor_id"], told[3]["detail"]["actor_id"]) == (str(PERSON_ID), str(AGENT_ID))
    assert (told[0]["subject"], told[0]["detail"]["status"]) == (f"zen:ticket:{number}", "PENDING")
    for each in told:
        check_document(specs("zendesk") / "webhook_event.schema.json", each)


def test_webhooks_are_signed_over_time_stamp_and_body(desk: Desk) -> None:
    desk.subscribe()
    desk.settle(desk.seed(), add_tags=[TAG])
    desk.delivered()

    [(_, headers, body)] = desk.posted
    timestamp = headers["X-Zendesk-Webhook-Signature-Timestamp"]
    assert timestamp == "2026-11-24T12:00:00Z"
    digest = hmac.new(SECRET.encode(), timestamp.encode() + body, hashlib.sha256).digest()
    assert headers["X-Zendesk-Webhook-Signature"] == base64.b64encode(digest).decode()
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Zendesk-Account-Id"].isdigit()
    assert headers["X-Zendesk-Webhook-Id"]


def test_the_published_signature_vectors_are_reproduced() -> None:
    static = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="
    body = b'{"event":"ticket.updated","id":123}'
    assert signature_of(static, "2021-03-25T05:09:27Z", body) == (
        "S/RDdU2ERmj7LHDDoWJ2onPYH+t7/f2+LTM4dL7UiLM="
    )
    old = "HRkRd4BeOAoUkfZr-mhauJT64rvBASlJRoIyPsd3zeA="
    signed = signature_of(old, "2021-07-25T10:00:00Z", b'{"say": "hello"}')
    assert signed == "Rry/4TtIdFyawtXXp8QdI6tlAUUQ/5kL1OTp5qo/ZIk="
    assert signed != "tRDSF7URY8BLCDlaBcQ7FHu051Zk+aAB0NKMP53teMw="


@pytest.mark.parametrize(("is_anew", "is_kept"), [(True, True), (False, True), (True, False)])
def test_a_retry_has_its_stamp_and_invocation_id_by_habit(desk: Desk, is_anew: bool, is_kept: bool) -> None:
    desk.arrange(habits={"signs_retries_anew": is_anew, "keeps_invocation_id": is_kept})
    event = desk.zendesk.event_for(CONDITIONAL, str(desk.seed()))
    tries = []
    for _ in range(2):
        tries.append(desk.zendesk.sign(event, "http://rf.example", SECRET).headers)
        desk.now += timedelta(seconds=1)

    stamps = {each["X-Zendesk-Webhook-Signature-Timestamp"] for each in tries}
    ids = {each["X-Zendesk-Webhook-Invocation-Id"] for each in tries}
    assert (len(stamps), len(ids)) == (2 if is_anew else 1, 1 if is_kept else 2)


def test_event_for_finds_the_newest_event_of_its_kind(desk: Desk) -> None:
    number = desk.seed()
    for tag in ("a", "b"):
        desk.settle(number, add_tags=[tag])
    event = desk.zendesk.event_for(f"{EVENT_PREFIX}tags_changed", str(number))

    assert event.body["event"]["tags_added"] == ["b"]
    assert desk.zendesk.event_for(CONDITIONAL, str(number)) is desk.zendesk.event_for(
        CONDITIONAL, str(number)
    )
    for topic, key in ((f"{EVENT_PREFIX}merged", str(number)), (CONDITIONAL, "1"), (CONDITIONAL, "x")):
        with pytest.raises(NoSuchObjectError):
            desk.zendesk.event_for(topic, key)


# ---------------------------------------------------------------- the controls


def test_a_person_solves_archives_and_writes_under_a_flag(desk: Desk) -> None:
    number = desk.seed(flags=[14])
    done = desk.settle(number, status="solved", comment="Done", public=False, flags=[0])

    assert done["status"] == "solved"
    assert desk.ticket(number)["assignee_id"] == PERSON_ID
    shown = desk.get(f"tickets/{number}/comments")["comments"]
    assert [each["metadata"]["flags"] for each in shown] == [[14], [0]]
    assert (shown[1]["author_id"], shown[1]["public"]) == (PERSON_ID, False)
    desk.settle(number, status="closed")
    desk.settle(number, is_archived=True)
    assert desk.get("tickets")["tickets"] == []
    assert desk.book() == []


def test_what_cannot_be_settled_is_said(desk: Desk) -> None:
    number, closed = desk.seed(), desk.seed(status="closed")
    desk.arrange(fields=[{"id": 7, "title": "Reason", "is_required": True}])

    for problem, what in (
        ("dance", {"dance": 1}),
        ("no status", {"status": "refunded"}),
        ("Reason", {"status": "solved"}),
    ):
        with pytest.raises(ValueError, match=problem):
            desk.settle(number, **what)
    with pytest.raises(ValueError, match="closed"):
        desk.settle(closed, comment="x")
    with pytest.raises(NoSuchObjectError):
        desk.settle(1, comment="x")
    with pytest.raises(NoSuchObjectError):
        desk.settle(number, comment="x", author=5)


def test_a_seed_that_cannot_be_read_says_what_is_wrong(desk: Desk) -> None:
    for problem, data in (
        ("comment", {"tickets": [{"subject": "x"}]}),
        ("no status", {"tickets": [{"comment": "x", "status": "refunded"}]}),
        ("not properly formatted", {"tickets": [{"comment": "x", "requester": {"email": "nowhere"}}]}),
        ("colour", {"habits": {"colour": 1}}),
        ("title", {"triggers": [{"any_tags": ["x"]}]}),
    ):
        with pytest.raises(ValueError, match=problem):
            desk.arrange(**data)


def test_seeded_users_and_ids_are_never_the_same_after_a_reset(desk: Desk) -> None:
    desk.arrange(users=[{"id": 903, "name": "Bo", "email": "bo@practice.example", "role": "agent"}])
    first = desk.create(assignee_id=903).json["ticket"]["id"]
    desk.zendesk.reset()

    assert desk.create().json["ticket"]["id"] != first
    assert desk.create(assignee_id=903).status_code == 422
    assert len(desk.book()) == 1


# ---------------------------------------------------------------- faults


def test_a_reply_lost_after_the_creation_is_found_by_key_and_by_external_id(desk: Desk) -> None:
    desk.world.faults.add(Fault(Kind.LOST_REPLY, "zendesk", "create_ticket"))

    with pytest.raises(ConnectionCutError):
        desk.create(key="op-1")
    [found] = desk.get("tickets", external_id="RF-77")["tickets"]
    again = desk.create(key="op-1")
    assert again.headers["x-idempotency-lookup"] == "hit"
    assert again.json["ticket"]["id"] == found["id"]
    assert len(desk.book("create_ticket")) == 1


def test_a_reply_lost_after_an_update_is_found_by_its_marker_in_the_audits(desk: Desk) -> None:
    number = desk.seed()
    desk.world.faults.add(Fault(Kind.LOST_REPLY, "zendesk", "update_ticket"))

    with pytest.raises(ConnectionCutError):
        desk.update(number, comment={"body": "Refunded"}, metadata={"refundflow_op": "op-2"})
    audits = desk.get(f"tickets/{number}/audits")["audits"]
    assert [each["metadata"]["custom"] for each in audits] == [{}, {"refundflow_op": "op-2"}]
    assert len(desk.book("add_comment")) == 1


def test_lost_requests_limits_and_refusals_change_nothing(desk: Desk) -> None:
    number = desk.seed()
    faults = desk.world.faults
    faults.add(Fault(Kind.LOST_REQUEST, "zendesk", "update_ticket"))
    faults.add(Fault(Kind.STATUS, "zendesk", "update_ticket", status=429, headers={"Retry-After": "7"}))
    faults.add(Fault(Kind.STATUS, "zendesk", "update_ticket", status=429))
    faults.add(Fault(Kind.STATUS, "zendesk", "update_ticket", status=503))
    for code in ("closed", "UpdateConflict", "Forbidden", "Subject: is rude"):
        faults.add(Fault(Kind.REFUSE, "zendesk", "update_ticket", code=code))
    faults.add(Fault(Kind.REFUSE_AUTH, "zendesk", "update_ticket"))

    with pytest.raises(ConnectionCutError):
        desk.update(number, subject="x")
    answers = [desk.update(number, subject="x") for _ in range(8)]
    assert [each.status_code for each in answers] == [429, 429, 503, 422, 409, 403, 422, 401]
    assert [each.headers["retry-after"] for each in answers[:2]] == ["7", "60"]
    assert answers[3].json == CLOSED
    assert answers[6].json["details"]["base"][0]["description"] == "Subject: is rude"
    assert desk.book() == []
    assert desk.ticket(number)["subject"] is None


# ---------------------------------------------------------------- the published description


def test_answers_fit_the_published_description(desk: Desk) -> None:
    spec, one = specs("zendesk") / "support.openapi.json", "/api/v2/tickets/{ticket_id}"
    made = desk.create(tags=["vip"], priority="high", type="question", assignee_id=AGENT_ID)
    number = made.json["ticket"]["id"]
    updated = desk.update(number, comment={"body": "Refunded"}, status="pending")
    desk.now += timedelta(minutes=5)

    checks = [
        ("POST", "/api/v2/tickets", 201, made.json),
        ("PUT", one, 200, updated.json),
        ("GET", one, 200, desk.get(f"tickets/{number}")),
        ("GET", "/api/v2/tickets", 200, desk.get("tickets", external_id="RF-77")),
        ("GET", f"{one}/comments", 200, desk.get(f"tickets/{number}/comments")),
        ("GET", f"{one}/audits", 200, desk.get(f"tickets/{number}/audits")),
        ("GET", f"{one}/tags", 200, desk.get(f"tickets/{number}/tags")),
        ("PUT", f"{one}/tags", 200, desk.call("PUT", f"tickets/{number}/tags", {"tags": ["a"]}).json),
        ("GET", "/api/v2/search", 200, desk.get("search", query="type:ticket")),
    ]
    for method, path, status, body in checks:
        check_response(spec, method, path, status, _without_nulls(body))
