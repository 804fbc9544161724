"""Google Sheets against Google's own discovery document: what we send, and the answers that our readers are tested on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from refundflow.connectors.google_sheets import SCOPE, SPEC, GoogleSheets, claim_number
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.transport.base import Request, Response
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

BOOK: Final = "1Practice0Log0000000000000000"
CASE: Final = "RF-00K3ZQ4M7ABCDEF"
STEP: Final = StepKey(f"{CASE}.keep_record.1")
NUMBER: Final = claim_number(CASE, ())
COMMAND: Final = KeepRecord(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    title="Order #1042",
    state="complete",
    text="Cancelled.",
    fields=(("Order", "1042"), ("Refunded", "42.50 EUR")),
    version=3,
)
ROW: Final = [CASE, 3, "complete", "Order #1042", "1042", "42.50 EUR", "Cancelled."]

SPREADSHEET: Final = "/v4/spreadsheets/{spreadsheetId}"
VALUES: Final = f"{SPREADSHEET}/values/{{range}}"
BATCH: Final = f"{SPREADSHEET}:batchUpdate"
METADATA: Final = f"{SPREADSHEET}/developerMetadata/{{metadataId}}"


def discovery() -> Path:
    return specs("google-sheets") / "sheets.v4.discovery.json"


def modern(value: Any) -> Any:
    """A schema of the discovery document in the words of OpenAPI."""
    if isinstance(value, list):
        return [modern(each) for each in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        return {"$ref": f"#/components/schemas/{value['$ref']}"}
    if value.get("type") == "any":
        return {}
    return {name: modern(each) for name, each in value.items() if name not in ("id", "description", "format")}


def methods(resources: Any) -> list[dict[str, Any]]:
    return [
        method
        for resource in resources.values()
        for method in (*resource.get("methods", {}).values(), *methods(resource.get("resources", {})))
    ]


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The discovery document as OpenAPI, which the shared checks read."""
    document = load(discovery())
    paths: dict[str, Any] = {}
    for method in methods(document["resources"]):
        own = {
            "parameters": [
                {
                    "name": name,
                    "in": each["location"],
                    "required": each.get("required", False),
                    "schema": modern({k: v for k, v in each.items() if k in ("type", "enum")}),
                }
                for name, each in {**document["parameters"], **method.get("parameters", {})}.items()
            ],
            "responses": {"200": content(method["response"])},
        }
        if "request" in method:
            own["requestBody"] = content(method["request"])
        paths.setdefault("/" + method["path"], {})[method["httpMethod"].lower()] = own
    schemas = {name: modern(schema) for name, schema in document["schemas"].items()}
    path = tmp_path_factory.mktemp("google-sheets") / "sheets.openapi.json"
    path.write_text(json.dumps({"paths": paths, "components": {"schemas": schemas}}), encoding="utf-8")
    return path


def content(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": modern(schema)}}}


ROWS: Final = {"range": "Log!A1:B1000", "majorDimension": "ROWS", "values": [["Case", "Version"], [CASE, 2]]}
NO_ROWS: Final = {"range": "Log!A1:B1000", "majorDimension": "ROWS"}
TABS: Final = {
    "spreadsheetId": BOOK,
    "properties": {"title": "Cancellations"},
    "sheets": [{"properties": {"sheetId": 7, "title": "Log"}}],
}
CLAIM: Final = {
    "metadataId": NUMBER,
    "metadataKey": "refundflow",
    "metadataValue": CASE,
    "location": {"locationType": "SHEET", "sheetId": 7},
    "visibility": "DOCUMENT",
}
MADE: Final = {
    "spreadsheetId": BOOK,
    "replies": [{"createDeveloperMetadata": {"developerMetadata": CLAIM}}, {}],
}
WRITTEN: Final = {
    "spreadsheetId": BOOK,
    "updatedRange": "Log!A2:G2",
    "updatedRows": 1,
    "updatedColumns": 6,
    "updatedCells": 6,
    "updatedData": {"range": "Log!A2:G2", "majorDimension": "ROWS", "values": [ROW]},
}


class Described:
    """Answers from a queue, each of which the description allows, and every request is what it allows too."""

    def __init__(self, openapi: Path, *answers: tuple[str, str, int, Any]) -> None:
        self.openapi = openapi
        self.described = list(answers)
        self.sent: list[Request] = []
        for method, template, status, body in answers:
            if status == 200:
                check_response(openapi, method, template, 200, body, declared_only=True)
            else:
                check_document(specs("google-sheets") / "error.response.schema.json", body)

    def send(self, request: Request) -> Response:
        method, template, status, body = self.described.pop(0)
        check_request(self.openapi, method, template, request)
        self.sent.append(request)
        return answer(status, body)


def refusal(code: int, status: str, message: str = "Request contains an invalid argument.") -> Any:
    return {"error": {"code": code, "message": message, "status": status, "details": []}}


def test_a_new_row_is_asked_for_and_read_as_described(openapi: Path) -> None:
    vendor = Described(
        openapi,
        ("GET", VALUES, 200, NO_ROWS),
        ("GET", SPREADSHEET, 200, TABS),
        ("POST", BATCH, 200, MADE),
    )
    assert GoogleSheets(vendor, BOOK, "Log").keep_record(COMMAND) == Done(CASE)
    assert vendor.described == []


def test_a_rewritten_row_is_asked_for_and_read_as_described(openapi: Path) -> None:
    vendor = Described(openapi, ("GET", VALUES, 200, ROWS), ("PUT", VALUES, 200, WRITTEN))
    assert GoogleSheets(vendor, BOOK, "Ada's log").keep_record(COMMAND) == Done(CASE)
    assert vendor.sent[1].json["range"] == "'Ada''s log'!A2:G2"


def test_a_taken_claim_is_asked_about_and_read_as_described(openapi: Path) -> None:
    for status, body, kind in (
        (200, CLAIM, Retryable),
        (404, refusal(404, "NOT_FOUND", "Requested entity was not found."), Permanent),
    ):
        vendor = Described(
            openapi,
            ("GET", VALUES, 200, NO_ROWS),
            ("GET", SPREADSHEET, 200, TABS),
            ("POST", BATCH, 400, refusal(400, "INVALID_ARGUMENT")),
            ("GET", METADATA, status, body),
        )
        assert isinstance(GoogleSheets(vendor, BOOK, "Log").keep_record(COMMAND), kind)


def test_a_claim_is_read_where_the_description_puts_it(openapi: Path) -> None:
    claimed = {
        **TABS,
        "sheets": [{"properties": {"sheetId": 7, "title": "Log"}, "developerMetadata": [CLAIM]}],
    }
    vendor = Described(
        openapi,
        ("GET", VALUES, 200, NO_ROWS),
        ("GET", SPREADSHEET, 200, claimed),
        ("GET", VALUES, 200, NO_ROWS),
    )
    said = GoogleSheets(vendor, BOOK, "Log").keep_record(COMMAND)
    assert isinstance(said, Permanent)
    assert said.code == "record_gone"


def test_claims_are_taken_away_as_described(openapi: Path) -> None:
    held = [{**CLAIM, "metadataId": n, "metadataValue": f"RF-{n:015}"} for n in range(1, 602)]
    sheet = {"properties": {"sheetId": 7, "title": "Log"}, "developerMetadata": held}
    vendor = Described(
        openapi,
        ("GET", VALUES, 200, NO_ROWS),
        ("GET", SPREADSHEET, 200, {**TABS, "sheets": [sheet]}),
        ("POST", BATCH, 200, {"spreadsheetId": BOOK, "replies": [{"deleteDeveloperMetadata": {}}]}),
        ("POST", BATCH, 200, MADE),
    )
    assert GoogleSheets(vendor, BOOK, "Log").keep_record(COMMAND) == Done(CASE)


def test_a_look_asks_and_reads_as_described(openapi: Path) -> None:
    for version, found in (
        (2, Done(CASE)),
        (1, AlreadyDone(CASE, "the row shows version 2")),
        (3, NotFound(0.0, "the row shows version 2")),
    ):
        vendor = Described(openapi, ("GET", VALUES, 200, ROWS))
        command = replace(COMMAND, version=version)
        assert GoogleSheets(vendor, BOOK, "Log").find_keep_record(command) == found


def test_the_check_asks_and_reads_as_described(openapi: Path) -> None:
    vendor = Described(openapi, ("GET", SPREADSHEET, 200, TABS))
    assert GoogleSheets(vendor, BOOK, "Log").check().is_ok


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "INVALID_ARGUMENT", Permanent),
        (401, "UNAUTHENTICATED", Retryable),
        (403, "PERMISSION_DENIED", Retryable),
        (404, "NOT_FOUND", Permanent),
        (429, "RESOURCE_EXHAUSTED", Retryable),
        (500, "INTERNAL", Unknown),
        (503, "UNAVAILABLE", Unknown),
    ],
)
def test_every_described_error_is_read(status: int, word: str, kind: type) -> None:
    body = refusal(status, word)
    check_document(specs("google-sheets") / "error.response.schema.json", body)
    words = load(specs("google-sheets") / "error.response.schema.json")
    assert word in words["properties"]["error"]["properties"]["status"]["description"]
    vendor = FakeHttp(answer(200, ROWS), answer(status, body))
    assert isinstance(GoogleSheets(vendor, BOOK, "Log").keep_record(COMMAND), kind)


def test_the_fields_that_we_ask_for_are_described() -> None:
    schemas = load(discovery())["schemas"]
    assert {"spreadsheetId", "properties", "sheets"} <= schemas["Spreadsheet"]["properties"].keys()
    assert "title" in schemas["SpreadsheetProperties"]["properties"]
    assert {"properties", "developerMetadata"} <= schemas["Sheet"]["properties"].keys()
    assert {"sheetId", "title"} <= schemas["SheetProperties"]["properties"].keys()
    assert {"metadataId", "metadataKey", "metadataValue"} <= schemas["DeveloperMetadata"]["properties"].keys()


def test_the_address_and_the_scope_are_the_described_ones() -> None:
    document = load(discovery())
    assert document["baseUrl"] == f"{SPEC.base_url}/"
    assert document["version"] == SPEC.api_version
    assert SCOPE in document["auth"]["oauth2"]["scopes"]
    ours = {
        "sheets.spreadsheets.get",
        "sheets.spreadsheets.batchUpdate",
        "sheets.spreadsheets.values.get",
        "sheets.spreadsheets.values.update",
        "sheets.spreadsheets.developerMetadata.get",
    }
    opened = {m["id"] for m in methods(document["resources"]) if SCOPE in m["scopes"]}
    assert ours <= opened
