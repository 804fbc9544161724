"""Notion against the published descriptions: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.notion import ERRORS, SPEC, Notion, Place
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable
from refundflow.transport.base import Request
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.notify.3")
SOURCE = "1b2c3d4e-0000-4000-8000-000000000001"
DATABASE = "1b2c3d4e-0000-4000-8000-0000000000db"
PAGE = "5f6e7d8c-0000-4000-8000-000000000001"
TWIN = "5f6e7d8c-0000-4000-8000-000000000002"
TYPES = {
    "Name": "title",
    "RF case": "rich_text",
    "RF version": "number",
    "State": "select",
    "Amount": "number",
    "Asked": "date",
    "Customer": "rich_text",
}
COMMAND = KeepRecord(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    title="Order #1042",
    state="attention",
    text="One refund needs a person. " * 200,
    fields=(("Amount", "42.50"), ("Asked", "2026-11-25"), ("Customer", ""), ("Gateway", "card")),
    version=3,
)
BY_ID = replace(COMMAND, record_id=PAGE)

#: The calls of one act, as the description names them.
DATABASE_CALL = ("GET", "/v1/databases/{database_id}")
TABLE_CALL = ("GET", "/v1/data_sources/{data_source_id}")
QUERY_CALL = ("POST", "/v1/data_sources/{data_source_id}/query")
RECORD_CALL = ("GET", "/v1/pages/{page_id}")
CREATE_CALL = ("POST", "/v1/pages")
UPDATE_CALL = ("PATCH", "/v1/pages/{page_id}")
BLOCKS_CALL = ("GET", "/v1/blocks/{block_id}/children")
APPEND_CALL = ("PATCH", "/v1/blocks/{block_id}/children")


def description() -> Path:
    return specs("notion") / "notion-2025-09-03.openapi.json"


def play(*answers: tuple[tuple[str, str], Any], place: Place | None = None) -> tuple[Notion, FakeHttp]:
    """The connector with these answers, each held against what is described for its call."""
    for (method, path), body in answers:
        check_response(description(), method, path, 200, body)
    vendor = FakeHttp(*(answer(200, body) for _, body in answers))
    return Notion(vendor, place or Place(SOURCE)), vendor


def check_calls(vendor: FakeHttp, *calls: tuple[str, str]) -> None:
    assert len(vendor.requests) == len(calls)
    for request, (method, path) in zip(vendor.requests, calls, strict=True):
        check_request(description(), method, path, without_children(request))
        for child in (request.json or {}).get("children", ()):
            check_document(description(), child, "/components/schemas/blockObjectRequest")


def without_children(request: Request) -> Request:
    """A new page without its blocks: the description takes them for texts. They are held against the description of blocks."""
    if request.path != "/v1/pages":
        return request
    return replace(request, json={name: value for name, value in request.json.items() if name != "children"})


def database() -> dict[str, Any]:
    return {"object": "database", "id": DATABASE, "data_sources": [{"id": SOURCE, "name": "Cases"}]}


def table(types: dict[str, str] = TYPES) -> dict[str, Any]:
    columns = {name: {"id": name, "name": name, "type": kind, kind: {}} for name, kind in types.items()}
    return {"object": "data_source", "id": SOURCE, "title": [], "properties": columns, "in_trash": False}


def page(version: int = 3, page_id: str = PAGE, *, in_trash: bool = False) -> dict[str, Any]:
    told = {
        "object": "page",
        "id": page_id,
        "created_time": "2026-11-25T12:00:00.000Z",
        "last_edited_time": "2026-11-25T12:00:00.000Z",
        "created_by": {"object": "user", "id": DATABASE},
        "parent": {"type": "data_source_id", "data_source_id": SOURCE, "database_id": DATABASE},
        "archived": in_trash,
        "in_trash": in_trash,
        "properties": {
            "RF case": {"id": "a", "type": "rich_text", "rich_text": [{"type": "text", "plain_text": CASE}]},
            "RF version": {"id": "b", "type": "number", "number": version},
        },
        "url": "https://www.notion.so/RF-1",
    }
    check_document(specs("notion") / "query.response.schema.json", rows(told))
    return told


def rows(*results: Any) -> dict[str, Any]:
    return {
        "object": "list",
        "results": list(results),
        "next_cursor": None,
        "has_more": False,
        "request_status": {"type": "complete"},
    }


def test_the_version_is_the_described_one() -> None:
    header = load(description())["components"]["parameters"]["notionVersion"]
    assert (header["name"], header["schema"]["default"]) == ("Notion-Version", SPEC.api_version)


@pytest.mark.parametrize("types", [TYPES, {**TYPES, "Report": "rich_text"}], ids=["page", "column"])
def test_making_a_row(types: dict[str, str]) -> None:
    keeper, vendor = play(
        (DATABASE_CALL, database()),
        (TABLE_CALL, table(types)),
        (QUERY_CALL, rows()),
        (CREATE_CALL, page()),
        place=Place("", DATABASE),
    )
    assert keeper.keep_record(COMMAND) == Done(PAGE, "https://www.notion.so/RF-1")
    check_calls(vendor, DATABASE_CALL, TABLE_CALL, QUERY_CALL, CREATE_CALL)


def test_bringing_a_row_up_with_its_report_in_the_page() -> None:
    block = {
        "object": "block",
        "id": TWIN,
        "type": "paragraph",
        "paragraph": {"rich_text": [{"plain_text": "Ada's own notes"}], "color": "default"},
    }
    keeper, vendor = play(
        (TABLE_CALL, table()),
        (RECORD_CALL, page(2)),
        (BLOCKS_CALL, {**rows(block), "has_more": True, "next_cursor": "c2"}),
        (BLOCKS_CALL, rows()),
        (APPEND_CALL, rows(block)),
        (UPDATE_CALL, page()),
    )
    assert keeper.keep_record(BY_ID) == Done(PAGE, "https://www.notion.so/RF-1")
    check_calls(vendor, TABLE_CALL, RECORD_CALL, BLOCKS_CALL, BLOCKS_CALL, APPEND_CALL, UPDATE_CALL)


def test_trashing_a_double_says_in_trash_and_never_archived() -> None:
    keeper, vendor = play(
        (TABLE_CALL, table({**TYPES, "Report": "rich_text"})),
        (QUERY_CALL, rows(page(2, TWIN), page(1))),
        (UPDATE_CALL, page(2, TWIN, in_trash=True)),
        (UPDATE_CALL, page()),
    )
    assert keeper.keep_record(COMMAND) == Done(PAGE, "https://www.notion.so/RF-1")
    check_calls(vendor, TABLE_CALL, QUERY_CALL, UPDATE_CALL, UPDATE_CALL)
    assert vendor.requests[2].json == {"in_trash": True}


def test_looks_ask_and_read_as_described() -> None:
    for listed, found in (
        ((page(),), Done(PAGE, "https://www.notion.so/RF-1")),
        ((), NotFound(120.0, "no row carries the case's id")),
    ):
        keeper, vendor = play((TABLE_CALL, table()), (QUERY_CALL, rows(*listed)))
        assert keeper.find_keep_record(COMMAND) == found
        check_calls(vendor, TABLE_CALL, QUERY_CALL)
    keeper, vendor = play((TABLE_CALL, table()), (RECORD_CALL, page()))
    assert keeper.find_keep_record(BY_ID) == Done(PAGE, "https://www.notion.so/RF-1")
    check_calls(vendor, TABLE_CALL, RECORD_CALL)


def test_the_check_asks_and_reads_as_described() -> None:
    keeper, vendor = play((TABLE_CALL, table()))
    assert keeper.check().is_ok
    check_calls(vendor, TABLE_CALL)


#: What an error code means, with the status that the vendor's SDK gives it.
MEANINGS: dict[str, tuple[int, type | None]] = {
    "unauthorized": (401, Retryable),
    "restricted_resource": (403, Retryable),
    "object_not_found": (404, Permanent),
    "rate_limited": (429, Retryable),
    "invalid_json": (400, Permanent),
    "invalid_request_url": (400, Permanent),
    "invalid_request": (400, Permanent),
    "validation_error": (400, Permanent),
    "missing_version": (400, Permanent),
    "conflict_error": (409, Retryable),
    "service_overload": (529, Retryable),
    "internal_server_error": (500, None),
    "service_unavailable": (503, None),
    "gateway_timeout": (504, None),
}


@pytest.mark.parametrize("code", MEANINGS)
def test_every_described_error_is_read(code: str) -> None:
    status, kind = MEANINGS[code]
    refused = {"object": "error", "status": status, "code": code, "message": "No.", "request_id": TWIN}
    check_document(specs("notion") / "error.response.schema.json", refused)
    vendor = FakeHttp(answer(200, table()), answer(200, rows()), answer(status, refused))
    said = Notion(vendor, Place(SOURCE)).keep_record(COMMAND)
    assert (type(said) if isinstance(said, Retryable | Permanent) else None) is kind


def test_no_described_error_is_left_out_of_the_test_above() -> None:
    schema = load(specs("notion") / "error.response.schema.json")
    described = schema["properties"]["code"]["description"].split(", ")
    assert sorted(described) == sorted(MEANINGS)
    assert {code for _, code in ERRORS} <= set(described)
