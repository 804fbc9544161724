"""The practice Notion: rows made, found, changed and trashed, what each version refuses, and what it notes in its book."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Event, Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.notion import (
    BOT,
    DATA_SOURCE,
    DATABASE,
    NEWEST_VERSION,
    OLD_VERSION,
    PERSON,
    TOKEN,
    VERSION,
    Notion,
    signature_of,
)
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 23, 12, 0, 42, tzinfo=UTC)
AUTH = {"Authorization": f"Bearer {TOKEN}"}
PARENT = {"type": "data_source_id", "data_source_id": DATA_SOURCE}
OLD_PARENT = {"type": "database_id", "database_id": DATABASE}
QUERY = f"/v1/data_sources/{DATA_SOURCE}/query"
OLD_QUERY = f"/v1/databases/{DATABASE}/query"
ABSENT_ID = "00000000-0000-4000-8000-000000000000"
VECTOR_TOKEN = "secret_abc123_verification_token"
VECTOR = "sha256=942ac06e288d4872c2c3944cb92793dabf59e7b005dab9c6f883aff7132c686c"


def _text(content: str, **more: Any) -> list[Record]:
    return [{"text": {"content": content, **more}}]


def _row(case: str = "RF-77", state: str = "refunded") -> Record:
    return {
        "Order": {"title": _text("1001")},
        "RF case": {"rich_text": _text(case)},
        "State": {"select": {"name": state}},
        "Amount": {"number": 42.5},
        "Currency": {"select": {"name": "EUR"}},
        "Amount minor": {"rich_text": _text("4250")},
        "Updated": {"date": {"start": "2026-05-04T10:11:12Z"}},
    }


def _paragraph(content: str) -> Record:
    return {"type": "paragraph", "paragraph": {"rich_text": _text(content)}}


def _is(case: str) -> Record:
    return {"property": "RF case", "rich_text": {"equals": case}}


class Bench:
    """A practice Notion behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.world = World([Notion], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("notion")
        assert isinstance(vendor, Notion)
        self.notion = vendor

    def _receive(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return self.statuses.pop(0) if self.statuses else 200

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str | None = VERSION,
        headers: Mapping[str, str] = AUTH,
        query: str = "",
    ) -> Result:
        sent = {**headers, "Content-Type": "application/json"}
        if version is not None:
            sent["Notion-Version"] = version
        text = body if isinstance(body, str) else None if body is None else json.dumps(body)
        return self.client.simulate_request(
            method, f"/notion{path}", body=text, headers=sent, query_string=query
        )

    def create(self, properties: Record | None = None, *, version: str = VERSION, **more: Any) -> Record:
        parent = OLD_PARENT if version == OLD_VERSION else PARENT
        body = {"parent": parent, "properties": _row() if properties is None else properties, **more}
        result = self.call("POST", "/v1/pages", body, version=version)
        assert result.status_code == 200, result.text
        page: Record = result.json
        return page

    def patch(self, page: str, body: Any, *, version: str = VERSION) -> Result:
        return self.call("PATCH", f"/v1/pages/{page}", body, version=version)

    def query(self, *, version: str = VERSION, **body: Any) -> Record:
        path = OLD_QUERY if version == OLD_VERSION else QUERY
        result = self.call("POST", path, body, version=version)
        assert result.status_code == 200, result.text
        answer: Record = result.json
        return answer

    def found(self, **body: Any) -> list[str]:
        return [each["id"] for each in self.query(**body)["results"]]

    def settle(self, **data: Any) -> Record:
        [settled] = self.world.settle("notion", data)
        return settled

    def habits(self, **habits: Any) -> None:
        self.world.seed({"notion": {"habits": habits}})

    def book(self, effect: str | None = None) -> list[Record]:
        return self.notion.book.lines(effect)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- creating


def test_a_row_is_made_with_status_200_and_noted_once(bench: Bench) -> None:
    page = bench.create()

    assert page["object"] == "page"
    assert page["parent"] == {**PARENT, "database_id": DATABASE}
    assert page["url"] == f"https://www.notion.so/1001-{page['id'].replace('-', '')}"
    assert page["properties"]["RF case"]["rich_text"][0]["plain_text"] == "RF-77"
    assert page["properties"]["Amount"]["number"] == 42.5
    assert page["properties"]["State"]["select"]["name"] == "refunded"
    assert page["properties"]["Reviewed"]["checkbox"] is False
    assert page["properties"]["RF version"]["number"] is None
    assert page["created_by"] == {"object": "user", "id": BOT}
    assert bench.book() == [
        {
            "at": START.isoformat(),
            "vendor": "notion",
            "effect": "create_page",
            "id": page["id"],
            "amount_minor": None,
            "currency": None,
            "target": {"database": DATABASE, "data_source": DATA_SOURCE, "page": page["id"]},
            "reference": "RF-77",
            "idempotency_key": None,
            "blocks": 0,
            "properties": {
                "Order": "1001",
                "RF case": "RF-77",
                "State": "refunded",
                "Amount": 42.5,
                "Currency": "EUR",
                "Amount minor": "4250",
                "Updated": "2026-05-04T10:11:00.000+00:00",
            },
        }
    ]


def test_the_same_row_twice_is_two_rows(bench: Bench) -> None:
    first, second = bench.create(), bench.create()

    assert first["id"] != second["id"]
    assert bench.found(filter=_is("RF-77")) == [second["id"], first["id"]]
    assert [line["reference"] for line in bench.book("create_page")] == ["RF-77", "RF-77"]


def test_every_answer_names_its_request_in_body_and_header(bench: Bench) -> None:
    for result in (
        bench.call("GET", "/v1/users/me"),
        bench.call("GET", "/v1/users/me", headers={}),
        bench.call("GET", "/v1/users/me", version=None),
        bench.call("GET", "/v1/nowhere"),
    ):
        assert uuid.UUID(result.json["request_id"])
        assert result.headers["x-notion-request-id"] == result.json["request_id"]


@pytest.mark.parametrize(
    ("_case", "headers"),
    [
        ("no header", {}),
        ("another scheme", {"Authorization": f"Basic {TOKEN}"}),
        ("another token", {"Authorization": "Bearer ntn_other"}),
    ],
)
def test_a_bad_token_is_refused_and_makes_nothing(bench: Bench, _case: str, headers: dict[str, str]) -> None:
    result = bench.call("POST", "/v1/pages", {"parent": PARENT, "properties": _row()}, headers=headers)

    assert (result.status_code, result.json["code"]) == (401, "unauthorized")
    assert result.json["message"] == "API token is invalid."
    assert bench.book() == []


@pytest.mark.parametrize(("version", "code"), [(None, "missing_version"), ("2020-01-01", "validation_error")])
def test_a_version_that_is_absent_or_unknown_is_refused(bench: Bench, version: str | None, code: str) -> None:
    result = bench.call("GET", "/v1/users/me", version=version)

    assert (result.status_code, result.json["code"]) == (400, code)
    assert result.json["message"].startswith("Notion-Version header failed validation")


@pytest.mark.parametrize(
    ("_case", "body", "message"),
    [
        ("no parent", {"properties": {}}, "body.parent should be defined, instead was `undefined`."),
        ("no properties", {"parent": PARENT}, "body.properties should be defined, instead was `undefined`."),
        ("parent of nothing", {"parent": {}, "properties": {}}, "body.parent.data_source_id should be defined"),
        ("parent that contradicts itself", {"parent": {**PARENT, "type": "page_id"}, "properties": {}}, "body.parent.data_source_id should be defined"),
        ("parent without a uuid", {"parent": {"data_source_id": "Cancellations"}, "properties": {}}, 'should be a valid uuid, instead was `"Cancellations"`.'),
        ("strange field", {"parent": PARENT, "properties": {}, "Notion-Version": "x"}, 'body.Notion-Version should be not present, instead was `"x"`.'),
        ("children that are no list", {"parent": PARENT, "properties": {}, "children": {}}, "body.children should be an array"),
        ("no object", [], "body should be an object, instead was `[]`."),
    ],
)  # fmt: skip
def test_a_wrong_create_is_refused_and_makes_nothing(
    bench: Bench, _case: str, body: Any, message: str
) -> None:
    result = bench.call("POST", "/v1/pages", body)

    assert (result.status_code, result.json["code"]) == (400, "validation_error")
    assert message in result.json["message"]
    assert bench.book() == []


@pytest.mark.parametrize("body", ["{", '"', "not json"])
def test_a_body_that_is_no_json_is_refused(bench: Bench, body: str) -> None:
    result = bench.call("POST", "/v1/pages", body)

    assert (result.status_code, result.json["code"]) == (400, "invalid_json")


def test_a_body_that_is_not_called_json_is_refused(bench: Bench) -> None:
    result = bench.client.simulate_post(
        "/notion/v1/pages",
        body=json.dumps({"parent": PARENT, "properties": _row()}),
        headers={**AUTH, "Notion-Version": VERSION, "Content-Type": "text/plain"},
    )

    assert (result.status_code, result.json["code"]) == (400, "invalid_json")
    assert bench.book() == []


@pytest.mark.parametrize(
    ("_case", "name", "value", "message"),
    [
        ("unknown property", "Colour", {"number": 1}, "Colour is not a property that exists."),
        ("another type", "Amount", {"rich_text": _text("42.50")}, "Amount is expected to be number."),
        ("text as a bare string", "RF case", {"rich_text": "RF-77"}, 'body.properties.RF case.rich_text should be an array, instead was `"RF-77"`.'),
        ("text without content", "RF case", {"rich_text": [{"text": {}}]}, "rich_text[0].text.content should be defined"),
        ("text of 2001", "RF case", {"rich_text": _text("x" * 2001)}, "rich_text[0].text.content.length should be ≤ `2000`, instead was `2001`."),
        ("text of 1001 marks beyond the basic plane", "RF case", {"rich_text": _text("💶" * 1001)}, "length should be ≤ `2000`, instead was `2002`."),
        ("101 texts", "RF case", {"rich_text": _text("x") * 101}, "rich_text.length should be ≤ `100`, instead was `101`."),
        ("link too long", "RF case", {"rich_text": _text("x", link={"url": "x" * 2001})}, "link.url.length should be ≤ `2000`"),
        ("mention", "RF case", {"rich_text": [{"type": "mention", "text": {"content": "x"}}]}, '[0].type should be `"text"`'),
        ("number as text", "Amount", {"number": "42.50"}, 'body.properties.Amount.number should be a number or `null`, instead was `"42.50"`.'),
        ("number as yes", "Amount", {"number": True}, "number should be a number or `null`"),
        ("select as text", "State", {"select": "refunded"}, "select should be an object"),
        ("select of nothing", "State", {"select": {}}, "select.name should be defined"),
        ("option with a comma", "State", {"select": {"name": "a, b"}}, "Invalid select option, commas not allowed: a, b"),
        ("option of 101", "State", {"select": {"name": "x" * 101}}, "select.name.length should be ≤ `100`, instead was `101`."),
        ("option by an unknown id", "State", {"select": {"id": "x1"}}, "x1 is an invalid select option."),
        ("date without start", "Updated", {"date": {}}, "date.start should be a valid ISO 8601 date string"),
        ("date in words", "Updated", {"date": {"start": "4 May"}}, "date.start should be a valid ISO 8601 date string"),
        ("no such day", "Updated", {"date": {"start": "2026-02-30"}}, "date.start should be a valid ISO 8601 date string"),
        ("checkbox as text", "Reviewed", {"checkbox": "yes"}, "checkbox should be a boolean"),
        ("no type at all", "Amount", {}, "body.properties.Amount.number should be defined, instead was `undefined`."),
        ("two types", "Amount", {"number": 1, "checkbox": True}, "Fix one"),
        ("bare value", "Amount", 42.5, "body.properties.Amount should be an object, instead was `42.5`."),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_on_create_and_on_update(
    bench: Bench, _case: str, name: str, value: Any, message: str
) -> None:
    page = bench.create()
    created = bench.call("POST", "/v1/pages", {"parent": PARENT, "properties": {**_row(), name: value}})
    updated = bench.patch(page["id"], {"properties": {name: value}})

    for result in (created, updated):
        assert (result.status_code, result.json["code"]) == (400, "validation_error")
        assert message in result.json["message"]
    assert [line["effect"] for line in bench.book()] == ["create_page"]


def test_everything_that_does_not_fit_the_schema_is_named_together(bench: Bench) -> None:
    wrong = {"Amount": {"checkbox": True}, "Colour": {"number": 1}}
    result = bench.call("POST", "/v1/pages", {"parent": PARENT, "properties": wrong})

    assert result.json["message"] == "Amount is expected to be number. Colour is not a property that exists."


def test_a_text_of_2000_characters_and_100_texts_are_taken(bench: Bench) -> None:
    page = bench.create({"RF case": {"rich_text": _text("x" * 2000) * 100}})

    assert len(page["properties"]["RF case"]["rich_text"]) == 100


def test_a_request_over_500_kb_is_refused(bench: Bench) -> None:
    body = {"parent": PARENT, "properties": {}, "children": [_paragraph("x" * 2000)] * 300}
    result = bench.call("POST", "/v1/pages", body)

    assert (result.status_code, result.json["code"]) == (400, "validation_error")
    assert bench.book() == []


def test_an_unknown_select_option_is_made_and_shows_in_the_schema(bench: Bench) -> None:
    bench.create()
    bench.create()
    schema = bench.call("GET", f"/v1/data_sources/{DATA_SOURCE}").json["properties"]

    assert [each["name"] for each in schema["State"]["select"]["options"]] == ["refunded"]


def test_a_refused_create_makes_no_option(bench: Bench) -> None:
    body = {"parent": PARENT, "properties": {**_row(), "Colour": {"number": 1}}}
    bench.call("POST", "/v1/pages", body)
    schema = bench.call("GET", f"/v1/data_sources/{DATA_SOURCE}").json["properties"]

    assert schema["State"]["select"]["options"] == []


def test_an_unknown_status_is_an_error_and_a_known_one_is_set(bench: Bench) -> None:
    status = {"type": "status", "options": ["Open", "Done"]}
    source = {"id": DATA_SOURCE, "properties": {"Order": "title", "State": status}}
    bench.world.seed({"notion": {"databases": [{"id": DATABASE, "data_sources": [source]}]}})

    refused = bench.call(
        "POST", "/v1/pages", {"parent": PARENT, "properties": {"State": {"status": {"name": "Lost"}}}}
    )
    assert refused.json["message"] == 'Invalid status option. Status option "Lost" does not exist.'
    page = bench.create({"State": {"status": {"name": "Done"}}})
    assert page["properties"]["State"]["status"]["name"] == "Done"
    assert bench.found(filter={"property": "State", "status": {"equals": "Done"}}) == [page["id"]]
    assert len(bench.book()) == 1


def test_a_number_beyond_a_double_comes_back_changed(bench: Bench) -> None:
    page = bench.create({"Amount": {"number": 9007199254740993}})

    assert page["properties"]["Amount"]["number"] == 9007199254740992


def test_a_property_can_be_named_by_its_id(bench: Bench) -> None:
    schema = bench.call("GET", f"/v1/data_sources/{DATA_SOURCE}").json["properties"]
    page = bench.create({"title": {"title": _text("1001")}, schema["Amount"]["id"]: {"number": 1}})

    assert page["properties"]["Order"]["title"][0]["plain_text"] == "1001"
    assert page["properties"]["Amount"]["number"] == 1


def test_times_are_kept_to_the_minute_unless_seeded_otherwise(bench: Bench) -> None:
    page = bench.create()
    assert page["created_time"] == "2026-11-23T12:00:00.000Z"
    assert page["properties"]["Updated"]["date"]["start"] == "2026-05-04T10:11:00.000+00:00"

    bench.habits(keeps_minutes_only=False)
    page = bench.create()
    assert page["created_time"] == "2026-11-23T12:00:42.000Z"
    assert page["properties"]["Updated"]["date"]["start"] == "2026-05-04T10:11:12.000+00:00"


def test_a_date_without_time_stays_one(bench: Bench) -> None:
    page = bench.create({"Updated": {"date": {"start": "2026-05-04"}}})

    assert page["properties"]["Updated"]["date"] == {"start": "2026-05-04", "end": None, "time_zone": None}


# ---------------------------------------------------------------- versions


def test_the_old_version_speaks_of_databases_only(bench: Bench) -> None:
    page = bench.create(version=OLD_VERSION)

    assert page["parent"] == OLD_PARENT
    answer = bench.query(version=OLD_VERSION, filter=_is("RF-77"))
    assert [each["id"] for each in answer["results"]] == [page["id"]]
    assert "request_status" not in answer
    database = bench.call("GET", f"/v1/databases/{DATABASE}", version=OLD_VERSION).json
    assert database["properties"]["RF case"]["type"] == "rich_text"
    assert "data_sources" not in database
    for method, path in (("POST", QUERY), ("GET", f"/v1/data_sources/{DATA_SOURCE}")):
        result = bench.call(method, path, version=OLD_VERSION)
        assert (result.status_code, result.json["code"]) == (400, "invalid_request_url")
    refused = bench.call("POST", "/v1/pages", {"parent": PARENT, "properties": {}}, version=OLD_VERSION)
    assert "body.parent.database_id should be defined" in refused.json["message"]
    assert len(bench.book()) == 1


@pytest.mark.parametrize("version", [VERSION, NEWEST_VERSION])
def test_newer_versions_query_no_database_and_take_none_as_a_parent(bench: Bench, version: str) -> None:
    queried = bench.call("POST", OLD_QUERY, {}, version=version)
    created = bench.call("POST", "/v1/pages", {"parent": OLD_PARENT, "properties": {}}, version=version)

    assert (queried.status_code, queried.json["code"]) == (400, "invalid_request_url")
    assert (created.status_code, created.json["code"]) == (404, "object_not_found")
    assert bench.book() == []


def test_a_house_that_still_takes_a_database_as_parent_does_so_for_one_data_source(bench: Bench) -> None:
    bench.habits(takes_database_parent=True)
    body = {"parent": OLD_PARENT, "properties": _row()}

    assert bench.call("POST", "/v1/pages", body).status_code == 200
    bench.settle(database=DATABASE, add_data_source={"properties": {"Name": "title"}})
    assert bench.call("POST", "/v1/pages", body).status_code == 400
    assert len(bench.book()) == 1


def test_a_second_data_source_breaks_the_old_version_and_is_listed_by_the_new(bench: Bench) -> None:
    second = bench.settle(
        database=DATABASE, add_data_source={"name": "Returns", "properties": {"Name": "title"}}
    )["id"]

    database = bench.call("GET", f"/v1/databases/{DATABASE}").json
    assert database["data_sources"] == [
        {"id": DATA_SOURCE, "name": "Cancellations"},
        {"id": second, "name": "Returns"},
    ]
    for method, path, body in (
        ("GET", f"/v1/databases/{DATABASE}", None),
        ("POST", OLD_QUERY, {}),
        ("POST", "/v1/pages", {"parent": OLD_PARENT, "properties": {}}),
    ):
        result = bench.call(method, path, body, version=OLD_VERSION)
        assert (result.status_code, result.json["code"]) == (400, "validation_error")
        assert result.json["additional_data"] == {
            "error_type": "multiple_data_sources_for_database",
            "database_id": DATABASE,
            "child_data_source_ids": [DATA_SOURCE, second],
            "minimum_api_version": VERSION,
        }
    assert bench.book() == []


def test_the_newest_version_has_forgotten_archived(bench: Bench) -> None:
    before = bench.create()
    after = bench.create(version=NEWEST_VERSION)

    assert (before["archived"], before["in_trash"]) == (False, False)
    assert after["in_trash"] is False
    assert "archived" not in after
    refused = bench.patch(after["id"], {"archived": True}, version=NEWEST_VERSION)
    assert refused.json["message"].endswith("body.archived should be not present, instead was `true`.")
    assert bench.patch(before["id"], {"archived": True}).json["in_trash"] is True
    assert len(bench.book("trash_page")) == 1


# ---------------------------------------------------------------- finding


def test_a_database_tells_its_data_source_and_that_its_schema(bench: Bench) -> None:
    database = bench.call("GET", f"/v1/databases/{DATABASE}").json
    assert database["data_sources"] == [{"id": DATA_SOURCE, "name": "Cancellations"}]
    assert "properties" not in database

    source = bench.call("GET", f"/v1/data_sources/{DATA_SOURCE.replace('-', '').upper()}").json
    assert source["id"] == DATA_SOURCE
    assert source["parent"] == {"type": "database_id", "database_id": DATABASE}
    assert {name: each["type"] for name, each in source["properties"].items()} == {
        "Order": "title",
        "RF case": "rich_text",
        "State": "select",
        "Amount": "number",
        "Currency": "select",
        "Amount minor": "rich_text",
        "RF version": "number",
        "Updated": "date",
        "Reviewed": "checkbox",
    }


def test_the_health_check_tells_the_bot(bench: Bench) -> None:
    answer = bench.call("GET", "/v1/users/me").json

    assert (answer["object"], answer["id"], answer["type"]) == ("user", BOT, "bot")


@pytest.mark.parametrize(
    ("_case", "method", "path", "kind"),
    [
        ("database", "GET", f"/v1/databases/{ABSENT_ID}", "database"),
        ("a data source asked for as a database", "GET", f"/v1/databases/{DATA_SOURCE}", "database"),
        ("a database asked for as a data source", "GET", f"/v1/data_sources/{DATABASE}", "data_source"),
        ("query", "POST", f"/v1/data_sources/{ABSENT_ID}/query", "data_source"),
        ("page", "GET", f"/v1/pages/{ABSENT_ID}", "page"),
        ("page to change", "PATCH", f"/v1/pages/{ABSENT_ID}", "page"),
        ("block", "GET", f"/v1/blocks/{ABSENT_ID}/children", "block"),
    ],
)
def test_what_is_not_there_is_a_404(bench: Bench, _case: str, method: str, path: str, kind: str) -> None:
    result = bench.call(method, path)

    assert (result.status_code, result.json["code"]) == (404, "object_not_found")
    assert result.json["message"].startswith(f"Could not find {kind} with ID: ")


def test_what_is_not_shared_any_more_is_not_there(bench: Bench) -> None:
    page = bench.create()["id"]
    bench.settle(database=DATABASE, is_shared=False)

    for method, path in (
        ("GET", f"/v1/databases/{DATABASE}"),
        ("GET", f"/v1/data_sources/{DATA_SOURCE}"),
        ("POST", QUERY),
        ("GET", f"/v1/pages/{page}"),
        ("PATCH", f"/v1/pages/{page}"),
    ):
        assert bench.call(method, path).json["code"] == "object_not_found"
    assert bench.call("GET", "/v1/users/me").status_code == 200


def test_an_id_that_is_no_uuid_is_refused_and_a_strange_path_too(bench: Bench) -> None:
    wrong = bench.call("GET", "/v1/pages/RF-77")
    strange = bench.call("GET", "/v1/page")

    assert wrong.json["message"] == (
        'path failed validation: path.page_id should be a valid uuid, instead was `"RF-77"`.'
    )
    assert (strange.status_code, strange.json["code"]) == (400, "invalid_request_url")


def test_a_row_is_found_by_its_reference_and_by_its_id(bench: Bench) -> None:
    page = bench.create()
    bench.create(_row("RF-78"))

    answer = bench.query(filter=_is("RF-77"), page_size=2)
    [found] = answer["results"]
    assert found == {name: value for name, value in page.items() if name != "request_id"}
    assert (answer["has_more"], answer["next_cursor"]) == (False, None)
    assert answer["request_status"] == {"type": "complete"}
    assert bench.call("GET", f"/v1/pages/{page['id']}").json["id"] == page["id"]


def test_a_young_row_is_not_found_by_query_but_by_its_id(bench: Bench) -> None:
    bench.habits(query_delay_s=5)
    page = bench.create()["id"]

    assert bench.found(filter=_is("RF-77")) == []
    assert bench.call("GET", f"/v1/pages/{page}").status_code == 200
    bench.now += timedelta(seconds=5)
    assert bench.found(filter=_is("RF-77")) == [page]


def test_a_slow_row_is_not_found_until_it_is_settled_as_indexed(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.SLOW_PENDING, "notion", "create_page"))
    page = bench.create()["id"]

    assert bench.found() == []
    bench.settle(page=page, is_indexed=True)
    assert bench.found() == [page]
    assert len(bench.book("create_page")) == 1


@pytest.mark.parametrize(
    ("_case", "asked", "cases"),
    [
        ("equals", _is("RF-77"), ["RF-77"]),
        ("case counts", _is("rf-77"), []),
        ("contains", {"property": "RF case", "rich_text": {"contains": "7"}}, ["RF-77", "RF-78"]),
        ("does not contain", {"property": "RF case", "rich_text": {"does_not_contain": "8"}}, ["RF-77", ""]),
        ("starts with", {"property": "RF case", "rich_text": {"starts_with": "RF"}}, ["RF-77", "RF-78"]),
        ("ends with", {"property": "RF case", "rich_text": {"ends_with": "8"}}, ["RF-78"]),
        ("empty", {"property": "RF case", "rich_text": {"is_empty": True}}, [""]),
        ("not empty", {"property": "RF case", "rich_text": {"is_not_empty": True}}, ["RF-77", "RF-78"]),
        ("title", {"property": "Order", "title": {"equals": "1001"}}, ["RF-77", "RF-78"]),
        ("select", {"property": "State", "select": {"equals": "refunded"}}, ["RF-77"]),
        ("other than", {"property": "State", "select": {"does_not_equal": "refunded"}}, ["RF-78", ""]),
        ("number", {"property": "Amount", "number": {"greater_than": 42}}, ["RF-77", "RF-78"]),
        ("no number", {"property": "Amount", "number": {"less_than": 1}}, []),
        ("checkbox", {"property": "Reviewed", "checkbox": {"equals": True}}, [""]),
        ("date", {"property": "Updated", "date": {"on_or_after": "2026-05-04"}}, ["RF-77", "RF-78"]),
        ("date before", {"property": "Updated", "date": {"before": "2026-05-04T10:11:00Z"}}, []),
        ("time stamp", {"timestamp": "created_time", "created_time": {"before": "2026-11-24"}}, ["RF-77", "RF-78", ""]),
        ("both", {"and": [_is("RF-77"), {"property": "State", "select": {"equals": "open"}}]}, []),
        ("either", {"or": [_is("RF-77"), _is("RF-78")]}, ["RF-77", "RF-78"]),
        ("nested", {"and": [{"or": [_is("RF-77"), _is("RF-78")]}, {"property": "State", "select": {"equals": "open"}}]}, ["RF-78"]),
    ],
)  # fmt: skip
def test_filters_choose_rows(bench: Bench, _case: str, asked: Record, cases: list[str]) -> None:
    bench.habits(newest_first=False)
    bench.create()
    bench.create(_row("RF-78", "open"))
    bench.create({"Reviewed": {"checkbox": True}})

    results = bench.query(filter=asked)["results"]
    texts = [each["properties"]["RF case"]["rich_text"] for each in results]
    assert ["".join(item["plain_text"] for item in text) for text in texts] == cases


@pytest.mark.parametrize(
    ("_case", "body", "message"),
    [
        ("unknown property", {"filter": {"property": "RF-case", "rich_text": {"equals": "x"}}}, "Could not find property with name or id: RF-case"),
        ("another type", {"filter": {"property": "RF case", "select": {"equals": "x"}}}, "database property rich_text does not match filter select"),
        ("the old word for text", {"filter": {"property": "RF case", "text": {"equals": "x"}}}, "body.filter.rich_text should be defined"),
        ("no property", {"filter": {"rich_text": {"equals": "x"}}}, "Fix one"),
        ("no condition", {"filter": {"property": "RF case", "rich_text": {}}}, "body.filter.rich_text.equals should be defined"),
        ("two conditions", {"filter": {"property": "RF case", "rich_text": {"equals": "x", "contains": "x"}}}, "Fix one"),
        ("wrong operand", {"filter": {"property": "RF case", "rich_text": {"equals": 77}}}, "body.filter.rich_text.equals should be a string, instead was `77`."),
        ("wrong number", {"filter": {"property": "Amount", "number": {"equals": None}}}, "body.filter.number.equals should be defined"),
        ("wrong inside", {"filter": {"or": [{"property": "RF case", "rich_text": {"is": "x"}}]}}, "body.filter.or[0].rich_text.equals should be defined"),
        ("nested too deep", {"filter": {"and": [{"or": [{"and": []}]}]}}, "Fix one"),
        ("page of 101", {"page_size": 101}, "body.page_size should be ≥ `1` and ≤ `100`, instead was `101`."),
        ("page of none", {"page_size": 0}, "body.page_size should be"),
        ("page in words", {"page_size": "2"}, "body.page_size should be a number"),
        ("strange cursor", {"start_cursor": "x"}, "The start_cursor provided is invalid: x"),
        ("strange field", {"filter_properties": []}, "body.filter_properties should be not present"),
        ("sort of nothing", {"sorts": [{"direction": "ascending"}]}, "body.sorts[0] should be"),
        ("sort by the unknown", {"sorts": [{"property": "Colour", "direction": "ascending"}]}, "Could not find property"),
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused_also_where_there_is_no_row(
    bench: Bench, _case: str, body: Record, message: str
) -> None:
    result = bench.call("POST", QUERY, body)

    assert (result.status_code, result.json["code"]) == (400, "validation_error")
    assert message in result.json["message"]


def test_a_query_needs_no_body_and_pages_by_cursor(bench: Bench) -> None:
    first, second, third = (bench.create(_row(f"RF-{i}"))["id"] for i in range(3))

    whole = bench.call("POST", QUERY).json
    assert [each["id"] for each in whole["results"]] == [third, second, first]
    page = bench.query(page_size=2)
    assert [each["id"] for each in page["results"]] == [third, second]
    assert page["has_more"] is True
    last = bench.query(page_size=2, start_cursor=page["next_cursor"])
    assert [each["id"] for each in last["results"]] == [first]
    assert last["has_more"] is False


def test_sorts_decide_the_order_and_equal_minutes_keep_the_order_of_the_house(bench: Bench) -> None:
    first, second = bench.create(_row("RF-2"))["id"], bench.create(_row("RF-1"))["id"]
    bench.now += timedelta(minutes=1)
    third = bench.create({})["id"]

    by_time = [{"timestamp": "created_time", "direction": "ascending"}]
    assert bench.found(sorts=by_time) == [second, first, third]
    by_case = [{"property": "RF case", "direction": "descending"}]
    assert bench.found(sorts=by_case) == [first, second, third]


def test_a_query_ends_at_its_limit_and_says_so_on_the_last_page(bench: Bench) -> None:
    bench.habits(query_most=2)
    for i in range(3):
        bench.create(_row(f"RF-{i}"))

    page = bench.query(page_size=1)
    assert (page["has_more"], page["request_status"]) == (True, {"type": "complete"})
    last = bench.query(page_size=1, start_cursor=page["next_cursor"])
    assert last["has_more"] is False
    assert last["request_status"] == {
        "type": "incomplete",
        "incomplete_reason": "query_result_limit_reached",
    }


def test_only_the_wanted_properties_are_told(bench: Bench) -> None:
    page = bench.create()
    wanted = page["properties"]["RF case"]["id"]

    read = bench.call("GET", f"/v1/pages/{page['id']}", query=f"filter_properties={wanted}")
    queried = bench.call("POST", QUERY, {}, query=f"filter_properties={wanted}&filter_properties=title")
    assert list(read.json["properties"]) == ["RF case"]
    assert list(queried.json["results"][0]["properties"]) == ["Order", "RF case"]


# ---------------------------------------------------------------- changing


def test_an_update_sets_what_is_sent_and_keeps_the_rest(bench: Bench) -> None:
    page = bench.create()["id"]
    bench.now += timedelta(minutes=3)
    changed = bench.patch(page, {"properties": {"State": {"select": None}, "Amount": {"number": 0}}}).json

    assert changed["properties"]["State"]["select"] is None
    assert changed["properties"]["Amount"]["number"] == 0
    assert changed["properties"]["RF case"]["rich_text"][0]["plain_text"] == "RF-77"
    assert (changed["created_time"], changed["last_edited_time"]) == (
        "2026-11-23T12:00:00.000Z",
        "2026-11-23T12:03:00.000Z",
    )
    [line] = bench.book("update_page")
    assert (line["id"], line["reference"]) == (page, "RF-77")
    assert line["properties"] == {"State": None, "Amount": 0}


def test_the_same_update_twice_changes_no_more_and_is_noted_twice(bench: Bench) -> None:
    page = bench.create()["id"]
    first, second = (
        bench.patch(page, {"properties": {"State": {"select": {"name": "open"}}}}).json for _ in range(2)
    )

    assert first["properties"] == second["properties"]
    assert len(bench.book("update_page")) == 2
    assert len(bench.found()) == 1


def test_an_empty_update_does_nothing(bench: Bench) -> None:
    page = bench.create()["id"]

    assert bench.patch(page, {}).status_code == 200
    assert bench.book("update_page") == []


@pytest.mark.parametrize(
    ("_case", "body", "message"),
    [
        ("strange field", {"parent": PARENT}, "body.parent should be not present"),
        ("trash in words", {"in_trash": "yes"}, "body.in_trash should be a boolean or `undefined`"),
        ("properties as a list", {"properties": []}, "body.properties should be an object"),
    ],
)
def test_a_wrong_update_is_refused_and_changes_nothing(
    bench: Bench, _case: str, body: Record, message: str
) -> None:
    page = bench.create()["id"]
    result = bench.patch(page, body)

    assert (result.status_code, result.json["code"]) == (400, "validation_error")
    assert message in result.json["message"]
    assert len(bench.book()) == 1


def test_a_trashed_row_leaves_the_queries_and_cannot_be_edited_until_restored(bench: Bench) -> None:
    page = bench.create()["id"]
    assert bench.patch(page, {"in_trash": True}).json["in_trash"] is True

    assert bench.found(filter=_is("RF-77")) == []
    assert bench.found(in_trash=True) == [page]
    assert bench.call("GET", f"/v1/pages/{page}").json["in_trash"] is True
    for refused in (
        bench.patch(page, {"properties": {"Amount": {"number": 1}}}),
        bench.patch(page, {"in_trash": True}),
        bench.call("PATCH", f"/v1/blocks/{page}/children", {"children": [_paragraph("x")]}),
    ):
        assert (refused.status_code, refused.json["code"]) == (400, "validation_error")
        assert refused.json["message"].startswith("Can't edit block that is archived.")
    assert bench.patch(page, {"in_trash": False, "properties": {"Amount": {"number": 1}}}).status_code == 200
    assert bench.found(filter=_is("RF-77")) == [page]
    assert [line["effect"] for line in bench.book()] == [
        "create_page",
        "trash_page",
        "restore_page",
        "update_page",
    ]
    assert {line["reference"] for line in bench.book()} == {"RF-77"}


def test_a_house_that_trashes_twice_notes_it_once(bench: Bench) -> None:
    bench.habits(trashes_twice=True)
    page = bench.create()["id"]

    assert [bench.patch(page, {"in_trash": True}).status_code for _ in range(2)] == [200, 200]
    assert len(bench.book("trash_page")) == 1


@pytest.mark.parametrize(
    ("missing", "method", "path"),
    [
        ("read", "GET", f"/v1/databases/{DATABASE}"),
        ("read", "GET", f"/v1/data_sources/{DATA_SOURCE}"),
        ("read", "POST", QUERY),
        ("insert", "POST", "/v1/pages"),
        ("update", "PATCH", f"/v1/pages/{ABSENT_ID}"),
        ("insert", "PATCH", f"/v1/blocks/{ABSENT_ID}/children"),
    ],
)
def test_a_missing_capability_is_a_403(bench: Bench, missing: str, method: str, path: str) -> None:
    has = [each for each in ("read", "insert", "update") if each != missing]
    bench.world.seed({"notion": {"capabilities": has}})
    result = bench.call(method, path, {"parent": PARENT, "properties": _row()})

    assert (result.status_code, result.json["code"]) == (403, "restricted_resource")
    assert bench.book() == []


# ---------------------------------------------------------------- blocks


def test_paragraphs_are_appended_each_time_and_noted_one_by_one(bench: Bench) -> None:
    page = bench.create(children=[_paragraph("opened")])["id"]
    item = {"bulleted_list_item": {"rich_text": _text("credit note 7")}}
    for _ in range(2):
        answer = bench.call(
            "PATCH", f"/v1/blocks/{page}/children", {"children": [_paragraph("refunded"), item]}
        )
        assert [each["type"] for each in answer.json["results"]] == ["paragraph", "bulleted_list_item"]

    listed = bench.call("GET", f"/v1/blocks/{page}/children").json
    texts = [each[each["type"]]["rich_text"][0]["plain_text"] for each in listed["results"]]
    assert texts == ["opened", "refunded", "credit note 7", "refunded", "credit note 7"]
    assert bench.book("create_page")[0]["blocks"] == 1
    assert [line["text"] for line in bench.book("append_block")] == ["refunded", "credit note 7"] * 2
    assert {line["reference"] for line in bench.book("append_block")} == {"RF-77"}


def test_blocks_are_placed_by_after_and_later_by_position(bench: Bench) -> None:
    page = bench.create(children=[_paragraph("1"), _paragraph("3")])["id"]
    path = f"/v1/blocks/{page}/children"
    first = bench.call("GET", path).json["results"][0]["id"]
    after = {"children": [_paragraph("2")], "after": first}
    start = {"children": [_paragraph("0")], "position": {"type": "start"}}

    assert bench.call("PATCH", path, after).status_code == 200
    assert bench.call("PATCH", path, start, version=NEWEST_VERSION).status_code == 200
    listed = bench.call("GET", path).json["results"]
    assert [each["paragraph"]["rich_text"][0]["plain_text"] for each in listed] == ["0", "1", "2", "3"]
    assert bench.call("PATCH", path, after, version=NEWEST_VERSION).status_code == 400
    assert bench.call("PATCH", path, start).status_code == 400
    lost = {"children": [], "position": {"type": "after_block", "after_block": {"id": ABSENT_ID}}}
    assert bench.call("PATCH", path, lost, version=NEWEST_VERSION).status_code == 404
    assert len(bench.book("append_block")) == 2


@pytest.mark.parametrize(
    ("_case", "body", "message"),
    [
        ("no children", {}, "body.children should be defined"),
        ("101 blocks", {"children": [_paragraph("x")] * 101}, "body.children.length should be ≤ `100`, instead was `101`."),
        ("unknown block", {"children": [{"type": "gold", "gold": {}}]}, "body.children[0].paragraph should be defined"),
        ("bare text", {"children": ["x"]}, "body.children[0] should be an object"),
        ("archived", {"children": [{**_paragraph("x"), "archived": False}]}, "body.children[0].archived should be not present, instead was `false`."),
        ("text too long", {"children": [_paragraph("x" * 2001)]}, "body.children[0].paragraph.rich_text[0].text.content.length should be ≤ `2000`"),
    ],
)  # fmt: skip
def test_wrong_blocks_are_refused_and_append_nothing(
    bench: Bench, _case: str, body: Record, message: str
) -> None:
    page = bench.create()["id"]
    result = bench.call("PATCH", f"/v1/blocks/{page}/children", body)

    assert (result.status_code, result.json["code"]) == (400, "validation_error")
    assert message in result.json["message"]
    assert bench.book("append_block") == []


def test_blocks_are_listed_in_pages(bench: Bench) -> None:
    page = bench.create(children=[_paragraph(str(i)) for i in range(3)])["id"]
    path = f"/v1/blocks/{page}/children"

    first = bench.call("GET", path, query="page_size=2").json
    assert (len(first["results"]), first["has_more"]) == (2, True)
    last = bench.call("GET", path, query=f"page_size=2&start_cursor={first['next_cursor']}").json
    assert (len(last["results"]), last["has_more"]) == (1, False)
    assert "query.page_size" in bench.call("GET", path, query="page_size=x").json["message"]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (409, "conflict_error"),
        (429, "rate_limited"),
        (500, "internal_server_error"),
        (502, "internal_server_error"),
        (503, "service_unavailable"),
        (504, "gateway_timeout"),
        (529, "service_overload"),
    ],
)
def test_a_failure_has_the_vendors_shape_and_does_nothing(bench: Bench, status: int, code: str) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "notion", "create_page", status=status))
    result = bench.call("POST", "/v1/pages", {"parent": PARENT, "properties": _row()})

    assert (result.status_code, result.json["status"], result.json["code"]) == (status, status, code)
    assert result.headers.get("retry-after") == ("30" if status in (429, 529) else None)
    assert ("rate_limit_reason" in result.json.get("additional_data", {})) is (status == 429)
    check_document(specs("notion") / "error.response.schema.json", result.json)
    assert bench.book() == []


def test_a_fault_may_say_another_wait_and_name_the_error(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "notion", status=429, headers={"Retry-After": "75"}))
    bench.world.faults.add(Fault(Kind.REFUSE, "notion", code="conflict_error"))
    bench.world.faults.add(Fault(Kind.REFUSE, "notion"))
    bench.world.faults.add(Fault(Kind.REFUSE_AUTH, "notion"))
    limited, conflict, plain, closed = (bench.call("GET", "/v1/users/me") for _ in range(4))

    assert limited.headers["retry-after"] == "75"
    assert (conflict.status_code, conflict.json["code"]) == (409, "conflict_error")
    assert (plain.status_code, plain.json["code"]) == (400, "validation_error")
    assert closed.status_code == 401


@pytest.mark.parametrize(
    "fault",
    [Fault(Kind.LOST_REPLY, "notion", "create_page"), Fault(Kind.LOST_REQUEST, "notion", "create_page")],
)
def test_after_a_cut_the_query_tells_whether_the_row_is_there(bench: Bench, fault: Fault) -> None:
    bench.world.faults.add(Fault(fault.kind, "notion", "create_page"))
    with pytest.raises(ConnectionCutError):
        bench.create()

    expected = 1 if fault.kind is Kind.LOST_REPLY else 0
    assert len(bench.found(filter=_is("RF-77"))) == expected
    assert len(bench.book("create_page")) == expected


# ---------------------------------------------------------------- controls


def test_seeded_rows_are_there_without_a_line_in_the_book(bench: Bench) -> None:
    made = bench.world.seed(
        {"notion": {"pages": [{"properties": _row()}, {"properties": _row(), "in_trash": True}]}}
    )["notion"]["pages"]

    assert bench.found(filter=_is("RF-77")) == [made[0]]
    assert bench.found(filter=_is("RF-77"), in_trash=True) == [made[1]]
    assert bench.book() == []


def test_a_seeded_database_takes_the_place_of_the_old_one(bench: Bench) -> None:
    wrong = {"id": DATA_SOURCE, "properties": {"Order": "title", "RF case": "number", "Link": "url"}}
    made = bench.world.seed({"notion": {"databases": [{"id": DATABASE, "data_sources": [wrong]}]}})

    assert made["notion"]["databases"] == [{"id": DATABASE, "data_sources": [DATA_SOURCE]}]
    schema = bench.call("GET", f"/v1/data_sources/{DATA_SOURCE}").json["properties"]
    assert {name: each["type"] for name, each in schema.items()} == {
        "Order": "title",
        "RF case": "number",
        "Link": "url",
    }
    page = bench.create({"Link": {"url": "https://shop.example/1001"}})
    assert page["properties"]["Link"]["url"] == "https://shop.example/1001"
    assert bench.book("create_page")[0]["reference"] is None


def test_the_reference_may_live_in_another_property(bench: Bench) -> None:
    bench.world.seed({"notion": {"reference": "Order"}})
    bench.create()

    assert bench.book()[0]["reference"] == "1001"


@pytest.mark.parametrize(
    ("_case", "data", "message"),
    [
        ("unknown habit", {"habits": {"mood": 1}}, "mood"),
        ("unknown capability", {"capabilities": ["fly"]}, "fly"),
        ("database without data sources", {"databases": [{}]}, "data_sources"),
        ("no title", {"databases": [{"data_sources": [{"properties": {"A": "number"}}]}]}, "exactly one"),
        ("unknown type", {"databases": [{"data_sources": [{"properties": {"A": "gold"}}]}]}, "gold"),
        ("a row that does not fit", {"pages": [{"properties": {"A": {"number": 1}}}]}, "A is not a property"),
    ],
)
def test_a_wrong_seed_is_an_error_at_the_controls(
    bench: Bench, _case: str, data: Record, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bench.world.seed({"notion": data})


def test_a_person_edits_a_row_and_the_book_has_nothing_of_it(bench: Bench) -> None:
    page = bench.create()["id"]
    bench.settle(page=page, properties={"Reviewed": {"checkbox": True}})

    read = bench.call("GET", f"/v1/pages/{page}").json
    assert read["properties"]["Reviewed"]["checkbox"] is True
    assert read["last_edited_by"]["id"] == PERSON
    bench.settle(page=page, in_trash=True)
    assert bench.found() == []
    assert [line["effect"] for line in bench.book()] == ["create_page"]


def test_a_person_changes_columns_and_writes_to_them_are_refused(bench: Bench) -> None:
    page = bench.create()["id"]
    bench.settle(
        data_source=DATA_SOURCE, properties={"State": None, "Amount": "rich_text", "Note": "rich_text"}
    )

    read = bench.call("GET", f"/v1/pages/{page}").json["properties"]
    assert "State" not in read
    assert read["Amount"]["rich_text"] == []
    refused = bench.patch(page, {"properties": {"State": {"select": None}, "Amount": {"number": 1}}})
    assert (
        refused.json["message"] == "State is not a property that exists. Amount is expected to be rich_text."
    )
    assert bench.patch(page, {"properties": {"Note": {"rich_text": _text("x")}}}).status_code == 200


@pytest.mark.parametrize(
    ("_case", "data", "error"),
    [
        ("unknown page", {"page": ABSENT_ID, "in_trash": True}, NoSuchObjectError),
        ("unknown data source", {"data_source": ABSENT_ID, "properties": {}}, NoSuchObjectError),
        ("unknown column", {"data_source": DATA_SOURCE, "properties": {"Colour": None}}, NoSuchObjectError),
        ("unknown database", {"database": ABSENT_ID, "is_shared": True}, NoSuchObjectError),
        ("no title", {"data_source": DATA_SOURCE, "properties": {"State": None, "Order": None}}, ValueError),
        ("wrong column", {"data_source": DATA_SOURCE, "properties": {"Colour": {}}}, ValueError),
        ("nothing that is known", {"weather": "fine"}, ValueError),
    ],
)
def test_a_wrong_move_is_an_error_at_the_controls(
    bench: Bench, _case: str, data: Record, error: type[Exception]
) -> None:
    with pytest.raises(error):
        bench.settle(**data)
    bench.create()


def test_a_page_is_settled_by_what_fits_it_only(bench: Bench) -> None:
    page = bench.create()["id"]

    with pytest.raises(ValueError, match="Colour is not a property"):
        bench.settle(page=page, properties={"Colour": {"number": 1}})
    with pytest.raises(ValueError, match="settled by"):
        bench.settle(page=page, colour="red")


def test_a_reset_forgets_rows_schema_and_book(bench: Bench) -> None:
    bench.create()
    bench.settle(data_source=DATA_SOURCE, properties={"State": None})
    bench.world.reset("notion")

    assert bench.book() == []
    assert bench.found() == []
    bench.create()


# ---------------------------------------------------------------- webhooks


def test_the_signature_is_the_one_of_the_published_vector(bench: Bench) -> None:
    body = b'{"id":"evt_1","type":"page.created"}'
    delivery = bench.notion.sign(Event("evt_1", "page.created", body), "", VECTOR_TOKEN)

    assert signature_of(VECTOR_TOKEN, body) == VECTOR
    assert delivery.headers["X-Notion-Signature"] == VECTOR
    assert delivery.body == body


def test_our_own_and_other_peoples_changes_are_told_signed_and_without_values(bench: Bench) -> None:
    bench.world.webhooks.subscribe("notion", Subscription("http://rf.example/hooks/notion", "practice-token"))
    page = bench.create()
    reviewed = page["properties"]["Reviewed"]["id"]
    amount = page["properties"]["Amount"]["id"]
    bench.patch(page["id"], {"properties": {"Amount": {"number": 1}}})
    bench.settle(page=page["id"], properties={"Reviewed": {"checkbox": True}})
    bench.call("PATCH", f"/v1/blocks/{page['id']}/children", {"children": [_paragraph("x")]})
    bench.settle(page=page["id"], in_trash=True)
    bench.patch(page["id"], {"in_trash": False})
    bench.settle(data_source=DATA_SOURCE, properties={"State": None})
    bench.world.webhooks.wait_idle()
    bench.world.close()

    told = [json.loads(body) for _, _, body in bench.posted]
    assert [(each["type"], each["authors"][0]["type"]) for each in told] == [
        ("page.created", "bot"),
        ("page.properties_updated", "bot"),
        ("page.properties_updated", "person"),
        ("page.content_updated", "bot"),
        ("page.deleted", "person"),
        ("page.undeleted", "bot"),
        ("data_source.schema_updated", "person"),
    ]
    assert [told[i]["data"]["updated_properties"] for i in (1, 2)] == [[amount], [reviewed]]
    assert told[0]["entity"] == {"id": page["id"], "type": "page"}
    assert told[0]["data"]["parent"] == {"id": DATABASE, "type": "database", "data_source_id": DATA_SOURCE}
    assert told[0]["timestamp"] == "2026-11-23T12:00:42.000Z"
    assert told[6]["entity"] == {"id": DATA_SOURCE, "type": "data_source"}
    assert told[6]["data"]["updated_properties"] == [
        {"id": page["properties"]["State"]["id"], "name": None, "action": "deleted"}
    ]
    assert len({each["id"] for each in told}) == 7
    for (url, headers, body), each in zip(bench.posted, told, strict=True):
        assert url == "http://rf.example/hooks/notion"
        digest = hmac.new(b"practice-token", body, hashlib.sha256).hexdigest()
        assert headers["X-Notion-Signature"] == f"sha256={digest}"
        # The description knows only ids of changed properties; the SDK's types have objects for a schema.
        if each["type"] != "data_source.schema_updated":
            check_document(specs("notion") / "webhook_event.request.schema.json", each)


def test_each_try_has_its_number_and_its_own_signature(bench: Bench) -> None:
    bench.statuses = [503, 200]
    bench.world.webhooks.subscribe(
        "notion", Subscription("http://rf.example/hooks/notion", "practice-token", retry_waits_s=(0.0,))
    )
    bench.create()
    bench.world.webhooks.wait_idle()
    bench.world.close()

    first, second = (json.loads(body) for _, _, body in bench.posted)
    assert (first["attempt_number"], second["attempt_number"]) == (1, 2)
    assert first["id"] == second["id"]
    signatures = {headers["X-Notion-Signature"] for _, headers, _ in bench.posted}
    assert len(signatures) == 2


def test_refused_and_empty_updates_are_not_told(bench: Bench) -> None:
    page = bench.create()["id"]
    bench.world.webhooks.subscribe("notion", Subscription("http://rf.example/hooks/notion", "practice-token"))
    bench.patch(page, {"properties": {"Colour": {"number": 1}}})
    bench.patch(page, {})
    bench.world.webhooks.wait_idle()
    bench.world.close()

    assert bench.posted == []


def test_the_first_post_of_all_brings_the_token_unsigned(bench: Bench) -> None:
    delivery = bench.notion.sign(bench.notion.event_for("verification", "secret_x"), "", "practice-token")

    assert json.loads(delivery.body) == {"verification_token": "secret_x"}
    assert "X-Notion-Signature" not in delivery.headers
    check_document(specs("notion") / "webhook_event.request.schema.json", json.loads(delivery.body))


@pytest.mark.parametrize(
    "topic",
    ["page.created", "page.properties_updated", "page.content_updated", "page.deleted", "page.undeleted"],
)
def test_an_event_can_be_asked_for(bench: Bench, topic: str) -> None:
    page = bench.create(children=[_paragraph("x")])["id"]
    event = bench.notion.event_for(topic, page)

    assert (event.body["type"], event.body["entity"]["id"], event.body["id"]) == (topic, page, event.id)
    check_document(specs("notion") / "webhook_event.request.schema.json", event.body)


@pytest.mark.parametrize(
    ("topic", "key"),
    [
        ("page.created", ABSENT_ID),
        ("page.painted", ABSENT_ID),
        ("data_source.schema_updated", ABSENT_ID),
        ("comment.created", ABSENT_ID),
    ],
)
def test_an_event_about_nothing_is_an_error_at_the_controls(bench: Bench, topic: str, key: str) -> None:
    with pytest.raises(NoSuchObjectError):
        bench.notion.event_for(topic, key)


# ---------------------------------------------------------------- descriptions


@pytest.mark.parametrize("version", [VERSION, NEWEST_VERSION])
def test_answers_fit_the_published_descriptions(bench: Bench, version: str) -> None:
    spec = specs("notion") / "notion-2025-09-03.openapi.json"
    page = bench.create(version=version)
    queried = bench.query(version=version, filter=_is("RF-77"))
    me = bench.call("GET", "/v1/users/me", version=version).json
    refused = bench.patch(page["id"], {"x": 1}, version=version)

    check_response(spec, "POST", "/v1/pages", 200, page)
    check_response(spec, "GET", "/v1/users/me", 200, me)
    check_response(spec, "PATCH", "/v1/pages/{page_id}", 400, refused.json)
    check_document(specs("notion") / "query.response.schema.json", queried)
    check_document(specs("notion") / "error.response.schema.json", refused.json)
