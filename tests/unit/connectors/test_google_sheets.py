"""Google Sheets: how a case's row is found, made and rewritten, on whose row a write fell, and what signs for us."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.google_sheets import (
    REFUSALS,
    SCOPE,
    SPEC,
    TOKEN_URL,
    Claim,
    Credentials,
    GoogleSheets,
    build,
    claim_number,
    letters,
    read_service_account,
    sign,
)
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.sandbox.google_sheets import PRIVATE_KEY, SERVICE_ACCOUNT
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Response
from refundflow.transport.redact import Redaction
from tests.support.fake_http import FakeHttp, FakeWire, answer

BOOK: Final = "1Practice0Log0000000000000000"
CASE: Final = "RF-00K3ZQ4M7ABCDEF"
OTHER: Final = "RF-00K3ZQ4M7ABCDEG"
STEP: Final = StepKey(f"{CASE}.keep_record.1")
NOW: Final = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ACCOUNT: Final = json.dumps(dict(SERVICE_ACCOUNT))
COMMAND: Final = KeepRecord(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    title="Order #1042",
    state="running",
    text="It is\nbeing cancelled.",
    fields=(("Order", "1042"), ("Customer", "=IMPORTXML(A1)")),
    version=3,
)
AGAIN: Final = replace(COMMAND, record_id=CASE)
ROW: Final = [CASE, 3, "running", "Order #1042", "1042", "=IMPORTXML(A1)", "It is\nbeing cancelled."]
HEADER: Final = ["Case", "Version", "State", "Title", "Order", "Customer", "Report"]
NUMBER: Final = claim_number(CASE, ())
GONE: Final = Permanent(
    "record_gone",
    f"the row of {CASE} is no longer in the tab 'Log': a person removed it or changed its first column",
)
UNREADABLE: Final = "unreadable answer from Google Sheets, status {}"


def sheets(vendor: FakeHttp, sheet: str = "Log") -> GoogleSheets:
    return GoogleSheets(vendor, BOOK, sheet)


def rows(*held: Any, area: str = "Log!A1:B1000") -> Response:
    body = {"range": area, "majorDimension": "ROWS", **({"values": list(held)} if held else {})}
    return answer(200, body)


def claim(number: int, case_id: str, key: str = "refundflow") -> dict[str, Any]:
    return {"metadataId": number, "metadataKey": key, "metadataValue": case_id}


def tab(*claims: dict[str, Any], sheet_id: int = 7, before: tuple[dict[str, Any], ...] = ()) -> Response:
    """A spreadsheet with two tabs, the second is ours."""
    return answer(
        200,
        {
            "spreadsheetId": BOOK,
            "properties": {"title": "Cancellations"},
            "sheets": [
                {"properties": {"sheetId": 0, "title": "Notes"}, "developerMetadata": list(before)},
                {"properties": {"sheetId": sheet_id, "title": "Log"}, "developerMetadata": list(claims)},
            ],
        },
    )


def made(number: int = NUMBER) -> Response:
    reply = {"createDeveloperMetadata": {"developerMetadata": {"metadataId": number}}}
    return answer(200, {"spreadsheetId": BOOK, "replies": [reply, {}]})


def written(*cells: Any) -> Response:
    told = {"range": "Log!A2:G2", "majorDimension": "ROWS", "values": [list(cells)]}
    return answer(
        200, {"spreadsheetId": BOOK, "updatedRange": "Log!A2:G2", "updatedRows": 1, "updatedData": told}
    )


def error(status: int, message: str = "no", word: str = "", **more: Any) -> Response:
    named = {"status": word} if word else {}
    return answer(status, {"error": {"code": status, "message": message, **named, **more}})


# ---------------------------------------------------------------- a new row


def test_a_new_row_is_made_in_one_batch_with_its_claim() -> None:
    vendor = FakeHttp(rows(HEADER[:2]), tab(), made())
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE)
    assert [(r.method, unquote(r.path)) for r in vendor.requests] == [
        ("GET", f"/v4/spreadsheets/{BOOK}/values/'Log'!A:B"),
        ("GET", f"/v4/spreadsheets/{BOOK}"),
        ("POST", f"/v4/spreadsheets/{BOOK}:batchUpdate"),
    ]
    claimed, appended = vendor.requests[2].json["requests"]
    assert claimed == {
        "createDeveloperMetadata": {
            "developerMetadata": {
                "metadataId": NUMBER,
                "metadataKey": "refundflow",
                "metadataValue": CASE,
                "location": {"sheetId": 7},
                "visibility": "DOCUMENT",
            }
        }
    }
    assert appended["appendCells"]["sheetId"] == 7
    assert appended["appendCells"]["fields"] == "userEnteredValue"
    (row,) = appended["appendCells"]["rows"]
    assert [cell["userEnteredValue"] for cell in row["values"]] == [
        {"stringValue": CASE},
        {"numberValue": 3},
        *({"stringValue": text} for text in ROW[2:]),
    ]


def test_a_blank_tab_gets_its_header_with_the_first_row() -> None:
    vendor = FakeHttp(rows(), tab(), made())
    sheets(vendor).keep_record(COMMAND)
    header, row = vendor.requests[2].json["requests"][1]["appendCells"]["rows"]
    assert [cell["userEnteredValue"] for cell in header["values"]] == [{"stringValue": t} for t in HEADER]
    assert row["values"][0] == {"userEnteredValue": {"stringValue": CASE}}


def test_the_claims_of_other_cases_are_gone_around_by_everybody_in_the_same_way() -> None:
    first = claim_number(CASE, ())
    second = claim_number(CASE, (Claim(first, OTHER, 7),))
    assert first != second
    assert all(1 <= number < 2**31 for number in (first, second))
    vendor = FakeHttp(rows(), tab(before=(claim(first, OTHER),)), made(second))
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE)
    assert "metadataId': " + str(second) in str(vendor.requests[2].json)


def test_a_claim_with_another_id_kept_nobody_out_and_is_no_yes() -> None:
    vendor = FakeHttp(rows(), tab(), made(NUMBER + 1))
    assert sheets(vendor).keep_record(COMMAND) == Unknown(
        "Google gave the row's claim another id, so a second row was not kept out"
    )


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("the claim is there", answer(200, claim(NUMBER, CASE)),
         Retryable("overtaken", "another writer claimed the row in the same moment", 2.0)),
        ("the claim is not there", error(404, "Requested entity was not found.", "NOT_FOUND"),
         Permanent("INVALID_ARGUMENT", "Google says: taken or not?")),
        ("another entry", answer(200, claim(NUMBER + 1, CASE)), Retryable("unavailable", "nothing was written: " + UNREADABLE.format(200))),
        ("no answer about it", answer(503, ""), Retryable("unavailable", "nothing was written: " + UNREADABLE.format(503))),
        ("throttled", answer(429, ""), Retryable("throttled", "Google asks us to slow down")),
        ("HTML", answer(404, "<html>"), Retryable("unavailable", "nothing was written: " + UNREADABLE.format(404))),
    ],
)  # fmt: skip
def test_a_refused_batch_is_explained_by_asking_for_its_claim(
    _case: str, response: Response, outcome: Outcome
) -> None:
    refused = error(400, "taken or not?", "INVALID_ARGUMENT")
    vendor = FakeHttp(rows(), tab(), refused, response)
    assert sheets(vendor).keep_record(COMMAND) == outcome
    assert vendor.calls[3:] == [f"GET /v4/spreadsheets/{BOOK}/developerMetadata/{NUMBER}"]


def test_a_claim_without_a_row_means_that_a_person_removed_it() -> None:
    vendor = FakeHttp(rows([OTHER, 1]), tab(claim(NUMBER, CASE)), rows([OTHER, 1]))
    assert sheets(vendor).keep_record(COMMAND) == GONE
    assert all(request.method == "GET" for request in vendor.requests)


def test_a_row_that_came_to_be_after_our_look_is_taken_as_it_is() -> None:
    vendor = FakeHttp(rows(), tab(claim(NUMBER, CASE)), rows([CASE, 3]))
    assert sheets(vendor).keep_record(COMMAND) == AlreadyDone(CASE, "the row shows version 3")
    assert vendor.is_drained


def test_a_claim_of_the_case_on_another_tab_does_not_count_here() -> None:
    vendor = FakeHttp(
        rows(), tab(before=(claim(NUMBER, CASE),)), made(claim_number(CASE, (Claim(NUMBER, CASE, 0),)))
    )
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE)


def test_the_oldest_claims_are_taken_away_before_they_fill_the_tab() -> None:
    held = [claim(1_000_000 + n, f"RF-{n:015}") for n in range(601)]
    vendor = FakeHttp(rows(), tab(*reversed(held)), answer(500, ""), made())
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE), "tidying up decides nothing"
    freed = vendor.requests[2].json["requests"]
    assert [
        r["deleteDeveloperMetadata"]["dataFilter"]["developerMetadataLookup"]["metadataId"] for r in freed
    ] == list(range(1_000_000, 1_000_250))


def test_few_claims_and_those_of_others_are_left_alone() -> None:
    held = [claim(1_000_000 + n, f"RF-{n:015}") for n in range(600)]
    foreign = [claim(5_000_000 + n, "x", key="theirs") for n in range(50)]
    vendor = FakeHttp(rows(), tab(*held, *foreign), made())
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE)


# ---------------------------------------------------------------- a row that is there


def test_a_row_is_rewritten_where_it_stands_without_its_first_column() -> None:
    vendor = FakeHttp(rows(HEADER[:2], [], [OTHER, 9], [f" {CASE} ", 2]), written(*ROW))
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE)
    request = vendor.requests[1]
    assert (request.method, unquote(request.path)) == (
        "PUT",
        f"/v4/spreadsheets/{BOOK}/values/'Log'!A4:G4",
    )
    assert dict(request.params) == {
        "valueInputOption": "RAW",
        "includeValuesInResponse": "true",
        "responseValueRenderOption": "UNFORMATTED_VALUE",
    }
    assert request.json == {"range": "'Log'!A4:G4", "majorDimension": "ROWS", "values": [[None, *ROW[1:]]]}


@pytest.mark.parametrize("owner", [OTHER, "", 77, None])
def test_a_write_that_fell_on_another_row_is_told_to_a_person(owner: Any) -> None:
    vendor = FakeHttp(rows(HEADER[:2], [CASE, 2]), written(owner, *ROW[1:]))
    said = sheets(vendor).keep_record(AGAIN)
    assert isinstance(said, Permanent)
    assert said.code == "row_moved"
    assert repr(str(owner)) in said.reason


@pytest.mark.parametrize(
    ("_case", "cells", "outcome"),
    [
        ("the same version", [CASE, 3], AlreadyDone(CASE, "the row shows version 3")),
        ("as a text", [CASE, "3"], AlreadyDone(CASE, "the row shows version 3")),
        ("as a number with a point", [CASE, 3.0], AlreadyDone(CASE, "the row shows version 3")),
        ("a higher one", [CASE, 4], AlreadyDone(CASE, "the row shows version 4")),
    ],
)
def test_a_row_as_new_or_newer_is_left_as_it_is(_case: str, cells: list[Any], outcome: Outcome) -> None:
    for command in (COMMAND, AGAIN):
        vendor = FakeHttp(rows(cells))
        assert sheets(vendor).keep_record(command) == outcome
        assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "cells", [[CASE], [CASE, ""], [CASE, "soon"], [CASE, True], [CASE, 2.5], [CASE, "2"]]
)
def test_a_row_that_shows_no_version_is_rewritten(cells: list[Any]) -> None:
    vendor = FakeHttp(rows(cells), written(*ROW))
    assert sheets(vendor).keep_record(COMMAND) == Done(CASE)


def test_a_row_that_is_gone_is_not_made_anew() -> None:
    vendor = FakeHttp(rows(HEADER[:2]))
    assert sheets(vendor).keep_record(AGAIN) == GONE
    assert len(vendor.requests) == 1


def test_two_rows_of_a_case_are_shown_to_a_person() -> None:
    held = rows([CASE, 2], [OTHER, 2], [CASE, 3])
    expected = Permanent("ambiguous", f"the rows 1, 3 all carry {CASE}: keep one, then send this step again")
    vendor = FakeHttp(always=held)
    assert sheets(vendor).keep_record(COMMAND) == expected
    assert sheets(vendor).find_keep_record(COMMAND) == expected
    assert len(vendor.requests) == 2


def test_a_tab_with_a_strange_name_is_quoted() -> None:
    vendor = FakeHttp(rows([CASE, 9], area="'Ada''s / log'!A1:B5"))
    assert isinstance(sheets(vendor, "Ada's / log").keep_record(COMMAND), AlreadyDone)
    path = vendor.sent.path.removeprefix(f"/v4/spreadsheets/{BOOK}/values/")
    assert "/" not in path
    assert unquote(path) == "'Ada''s / log'!A:B"


def test_a_text_that_no_cell_can_hold_is_cut() -> None:
    vendor = FakeHttp(rows([CASE, 1]), written(*ROW))
    sheets(vendor).keep_record(replace(COMMAND, text="x" * 60_000))
    assert vendor.requests[1].json["values"][0][-1] == "x" * 23_999 + "…"


@pytest.mark.parametrize(("number", "name"), [(1, "A"), (26, "Z"), (27, "AA"), (52, "AZ"), (703, "AAA")])
def test_columns_are_named_as_people_know_them(number: int, name: str) -> None:
    assert letters(number) == name


# ---------------------------------------------------------------- answers to writes

WRITES: Final = [
    ("throttled", answer(429, "", {"Retry-After": "5"}), Retryable("throttled", "Google asks us to slow down", 5.0)),
    ("throttled with a 403", error(403, "Rate Limit Exceeded", errors=[{"reason": "rateLimitExceeded"}]),
     Retryable("throttled", "Google asks us to slow down")),
    ("throttled in the newer form", error(403, "Quota", details=[{"x": 1}, {"reason": "RATE_LIMIT_EXCEEDED"}]),
     Retryable("throttled", "Google asks us to slow down")),
    ("unavailable", error(503, "The service is currently unavailable.", "UNAVAILABLE"), Unknown(UNREADABLE.format(503))),
    ("aborted", error(409, "Aborted", "ABORTED"), Unknown(UNREADABLE.format(409))),
    ("an error after the act", error(500, "Internal error encountered.", "INTERNAL"), Unknown(UNREADABLE.format(500))),
    ("HTML", answer(200, "<html>"), Unknown(UNREADABLE.format(200))),
    ("a 400 of somebody else", answer(400, "<html>"), Unknown(UNREADABLE.format(400))),
    ("empty", answer(200, {}), Unknown(UNREADABLE.format(200))),
    ("a list", answer(200, []), Unknown(UNREADABLE.format(200))),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "response", "outcome"), WRITES)
def test_answers_to_a_new_row(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(rows(), tab(), response)
    assert sheets(vendor).keep_record(COMMAND) == outcome
    assert vendor.is_drained


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        *WRITES,
        ("without the values", answer(200, {"updatedRange": "Log!A2:G2"}), Unknown(UNREADABLE.format(200))),
        ("no values", answer(200, {"updatedData": {"values": []}}), Unknown(UNREADABLE.format(200))),
        ("protected", error(400, "You are trying to edit a protected cell or object.", "INVALID_ARGUMENT"),
         Permanent("tab_protected", "let the service account edit the tab's protected cells (Google says: You are trying to edit "
                   "a protected cell or object.)")),
        ("a refusal that we do not know", error(400, "The moon is full.", "FAILED_PRECONDITION"),
         Permanent("FAILED_PRECONDITION", "Google says: The moon is full.")),
        ("one without a word", error(400, "Bad"), Permanent("INVALID_ARGUMENT", "Google says: Bad")),
    ],
)  # fmt: skip
def test_answers_to_a_rewritten_row(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(rows([CASE, 1]), response)
    assert sheets(vendor).keep_record(COMMAND) == outcome
    assert vendor.is_drained


@pytest.mark.parametrize("wire_error", [MaybeSentError("reset"), NotSentError("refused")])
def test_trouble_on_the_wire_is_not_hidden(wire_error: Exception) -> None:
    vendor = FakeHttp(rows([CASE, 1]), wire_error)  # type: ignore[arg-type] # both are errors of the wire
    with pytest.raises(type(wire_error)):
        sheets(vendor).keep_record(COMMAND)


@pytest.mark.parametrize(("words", "code", "advice"), REFUSALS)
def test_every_refusal_of_the_table_is_told_with_what_to_do(words: str, code: str, advice: str) -> None:
    vendor = FakeHttp(rows([CASE, 1]), error(400, f"Invalid: {words} and so on", "INVALID_ARGUMENT"))
    said = sheets(vendor).keep_record(COMMAND)
    assert said == Permanent(code, f"{advice} (Google says: Invalid: {words} and so on)")


# ---------------------------------------------------------------- answers to looks

FAILED_LOOKS: Final = [
    ("throttled", answer(429, "", {"Retry-After": "5"}), Retryable("throttled", "Google asks us to slow down", 5.0), None),
    ("HTML", answer(200, "<html>"), Retryable("unavailable", "nothing was written: " + UNREADABLE.format(200)), Unknown(UNREADABLE.format(200))),
    ("a part of the rows", rows([CASE, 1], area="Log!A5:B9"), Retryable("unavailable", "nothing was written: " + UNREADABLE.format(200)),
     Unknown(UNREADABLE.format(200))),
    ("values that are none", answer(200, {"range": "Log!A1:B9", "values": "x"}),
     Retryable("unavailable", "nothing was written: " + UNREADABLE.format(200)), Unknown(UNREADABLE.format(200))),
    ("rows that are none", answer(200, {"range": "Log!A1:B9", "values": [["x"], None]}),
     Retryable("unavailable", "nothing was written: " + UNREADABLE.format(200)), Unknown(UNREADABLE.format(200))),
    ("down", answer(500, ""), Retryable("unavailable", "nothing was written: " + UNREADABLE.format(500)), Unknown(UNREADABLE.format(500))),
    ("renamed", error(400, "Unable to parse range: 'Log'!A:B", "INVALID_ARGUMENT"),
     Permanent("tab_missing", "the tab was renamed or removed: see REFUNDFLOW_GOOGLE_SHEETS_SHEET (Google says: Unable to parse "
               "range: 'Log'!A:B)"),
     Unknown("could not look: tab_missing: the tab was renamed or removed: see REFUNDFLOW_GOOGLE_SHEETS_SHEET (Google says: Unable "
             "to parse range: 'Log'!A:B)")),
    ("no such spreadsheet", error(404, "Requested entity was not found.", "NOT_FOUND"),
     Permanent("NOT_FOUND", "there is no such spreadsheet: see REFUNDFLOW_GOOGLE_SHEETS_SPREADSHEET_ID (Google says: Requested entity "
               "was not found.)"),
     Unknown("could not look: NOT_FOUND: there is no such spreadsheet: see REFUNDFLOW_GOOGLE_SHEETS_SPREADSHEET_ID (Google says: "
             "Requested entity was not found.)")),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "response", "kept", "found"), FAILED_LOOKS)
def test_a_look_that_failed_writes_nothing_and_proves_nothing(
    _case: str, response: Response, kept: Outcome, found: Outcome | None
) -> None:
    for command in (COMMAND, AGAIN):
        vendor = FakeHttp(always=response)
        assert sheets(vendor).keep_record(command) == kept
        assert sheets(vendor).find_keep_record(command) == (found or kept)
        assert [request.method for request in vendor.requests] == ["GET", "GET"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_account_is_the_houses_fault(status: int) -> None:
    vendor = FakeHttp(always=error(status, "The caller does not have permission", "PERMISSION_DENIED"))
    for said in (sheets(vendor).keep_record(COMMAND), sheets(vendor).find_keep_record(COMMAND)):
        assert isinstance(said, Retryable)
        assert said.code == "unauthorised"
        assert "service account" in said.reason


def test_without_its_tab_no_row_is_made() -> None:
    there = answer(200, {"spreadsheetId": BOOK, "sheets": [{"properties": {"title": "Notes"}}]})
    vendor = FakeHttp(rows(), there)
    assert sheets(vendor).keep_record(COMMAND) == Permanent(
        "tab_missing", "the spreadsheet has no tab 'Log'; there are 'Notes'"
    )


@pytest.mark.parametrize(
    ("_case", "command", "held", "found"),
    [
        ("never made", COMMAND, [], NotFound(200.0, "no row of the tab carries the case id")),
        ("others only", COMMAND, [HEADER[:2], [OTHER, 3], [f"{CASE}1", 3]], NotFound(200.0, "no row of the tab carries the case id")),
        ("gone", AGAIN, [[OTHER, 3]], GONE),
        ("ours", COMMAND, [[OTHER, 3], [CASE, 3]], Done(CASE)),
        ("ours again", AGAIN, [[CASE, "3"]], Done(CASE)),
        ("a newer one", AGAIN, [[CASE, 4]], AlreadyDone(CASE, "the row shows version 4")),
        ("an older one", AGAIN, [[CASE, 2]], NotFound(0.0, "the row shows version 2")),
        ("no version", AGAIN, [[CASE]], NotFound(0.0, "the row shows version -1")),
    ],
)  # fmt: skip
def test_what_a_look_finds(_case: str, command: KeepRecord, held: list[Any], found: Outcome) -> None:
    vendor = FakeHttp(rows(*held))
    assert sheets(vendor).find_keep_record(command) == found
    assert [request.method for request in vendor.requests] == ["GET"]


@pytest.mark.parametrize(
    ("_case", "response", "health"),
    [
        ("fine", tab(), Health(True, "Google Sheets: the tab 'Log' of 'Cancellations' can be read")),
        ("no tab", answer(200, {"spreadsheetId": BOOK, "sheets": []}), Health(False, "the spreadsheet has no tab 'Log'; there are none")),
        ("a wrong key", error(401, "no"), Health(False, "Google refused the access token: see that the service account and its key still exist")),
        ("down", answer(503, ""), Health(False, UNREADABLE.format(503))),
        ("HTML", answer(200, "<html>"), Health(False, UNREADABLE.format(200))),
    ],
)  # fmt: skip
def test_check(_case: str, response: Response, health: Health) -> None:
    vendor = FakeHttp(response)
    assert sheets(vendor).check() == health
    assert vendor.calls == [f"GET /v4/spreadsheets/{BOOK}"]


# ---------------------------------------------------------------- who signs


def part(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_an_assertion_is_signed_for_google_alone_and_for_an_hour() -> None:
    account = read_service_account(Secret(ACCOUNT))
    head, claims, signature = sign(account, NOW).split(".")
    assert part(head) == {"alg": "RS256", "typ": "JWT", "kid": SERVICE_ACCOUNT["private_key_id"]}
    assert part(claims) == {
        "iss": SERVICE_ACCOUNT["client_email"],
        "scope": SCOPE,
        "aud": TOKEN_URL,
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3600,
    }
    account.key.public_key().verify(
        base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)),
        f"{head}.{claims}".encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )


def test_the_token_is_shared_and_fetched_where_the_settings_say() -> None:
    wire = FakeWire()
    credentials = Credentials(
        Secret(ACCOUNT), BOOK, base_url="https://a.example", token_url="https://b.example/token"
    )
    built = build(credentials, wire, lambda: NOW)
    assert (built.spreadsheet_id, built.sheet) == (BOOK, "Log")
    assert [(m["base_url"], bool(m.get("tokens"))) for m in wire.made] == [
        ("https://b.example/token", False),
        ("https://a.example", True),
    ]
    (request,) = wire.token_requests
    form = dict(request.form or ())
    assert (request.method, request.path, form["grant_type"]) == (
        "POST",
        "",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    )
    assert part(form["assertion"].split(".")[1])["iat"] == int(NOW.timestamp())


def test_an_assertion_is_signed_anew_for_every_fetch() -> None:
    asked: list[Any] = []
    times = iter((NOW, NOW.replace(hour=13)))

    class Wire(FakeWire):
        def refreshed_tokens(self, http: Any, request: Any, **_: Any) -> Any:
            asked.extend(request("") for _ in range(2))

    build(Credentials(Secret(ACCOUNT), BOOK), Wire(), lambda: next(times))
    first, second = (dict(request.form)["assertion"] for request in asked)
    assert first != second


def test_what_the_audit_keeps_holds_neither_the_assertion_nor_what_cells_say() -> None:
    redaction = Redaction(SPEC.redact)
    assert redaction.hides("assertion")
    vendor = FakeHttp(rows(), tab(), made())
    sheets(vendor).keep_record(COMMAND)
    kept = json.dumps(redaction.json(vendor.requests[2].json))
    assert "being cancelled" not in kept
    assert CASE in kept, "the claim says whose row it was"


def test_secrets_do_not_show() -> None:
    credentials = Credentials(Secret(ACCOUNT), BOOK)
    for shown in (repr(credentials), repr(read_service_account(credentials.service_account))):
        assert "PRIVATE" not in shown
        assert PRIVATE_KEY.splitlines()[1] not in shown


def elliptic() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("_case", "given", "words"),
    [
        ("nothing", "", "is the JSON key"),
        ("a path", "/etc/key.json", "is the JSON key"),
        ("another kind", json.dumps({"type": "authorized_user"}), "is the JSON key"),
        ("no key", json.dumps({**SERVICE_ACCOUNT, "private_key": "secret-words"}), "no RSA key"),
        ("another kind of key", json.dumps({**SERVICE_ACCOUNT, "private_key": elliptic()}), "no RSA key"),
    ],
)
def test_an_account_that_cannot_sign_is_refused_without_repeating_it(
    _case: str, given: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Credentials(Secret(given), BOOK)
    assert "secret-words" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ["", "https://docs.google.com/spreadsheets/d/abc/edit", "short", "a/../b" * 5]
)
def test_a_spreadsheets_whole_address_is_not_its_id(given: str) -> None:
    with pytest.raises(ValueError, match="spreadsheet_id"):
        Credentials(Secret(ACCOUNT), given)


def test_a_row_is_looked_for_before_every_repeat() -> None:
    assert SPEC.operations[Capability.KEEP_RECORD].idempotency is Idempotency.LOOKUP
    assert set(SPEC.operations) == {Capability.KEEP_RECORD, Capability.CHECK}
