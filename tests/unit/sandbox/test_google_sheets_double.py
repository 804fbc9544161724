"""The practice Google Sheets: its tokens, rows and metadata, what it refuses, what people do by hand, and its book."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from falcon.testing import Result, TestClient
from jsonschema import Draft202012Validator

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, Kind, NoSuchObjectError, Record, World
from refundflow.sandbox.google_sheets import (
    CLIENT_EMAIL,
    DRIVE_FILE,
    GRANT_TYPE,
    HEADER,
    PRIVATE_KEY,
    PRIVATE_KEY_ID,
    SCOPE,
    SERVICE_ACCOUNT,
    SPREADSHEET_ID,
    GoogleSheets,
)
from tests.support.specs import check_document, load, specs

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
START_S = int(START.timestamp())
KEY = load_pem_private_key(PRIVATE_KEY.encode(), None)
ROW = ["rf-77-3", "2026-05-04T10:11:12Z", "1001", "refunded", "4250", "EUR", "re_1", "portal"]
OTHER = ["rf-78-1", "2026-05-04T10:12:00Z", "1002", "cancelled", "0", "EUR", "", "portal"]
RAW = {"valueInputOption": "RAW"}
PROTECTED = (
    "You are trying to edit a protected cell or object. Please contact the spreadsheet owner to remove protection"
    " if you need to edit."
)
GRID = "Max rows: 1000, max columns: 26"


def _b64(data: Any) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _assertion(changes: Record | None = None, header: Record | None = None) -> str:
    claims: Record = {
        "iss": CLIENT_EMAIL,
        "scope": SCOPE,
        "aud": SERVICE_ACCOUNT["token_uri"],
        "iat": START_S,
        "exp": START_S + 3600,
    } | (changes or {})
    kept = {name: value for name, value in claims.items() if value is not None}
    signed = _b64({"alg": "RS256", "typ": "JWT", "kid": PRIVATE_KEY_ID} | (header or {})) + "." + _b64(kept)
    assert isinstance(KEY, rsa.RSAPrivateKey)
    return f"{signed}.{_b64(KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Bench:
    """A practice Google Sheets behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.world = World([GoogleSheets], clock=lambda: self.now)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("google-sheets")
        assert isinstance(vendor, GoogleSheets)
        self.sheets = vendor
        self.token: str = self.grant(_assertion()).json["access_token"]

    def grant(self, assertion: str | None, **form: str) -> Result:
        fields = {"grant_type": GRANT_TYPE, "assertion": assertion or ""} | form
        return self.client.simulate_post(
            "/google-sheets/token",
            body=urlencode({name: value for name, value in fields.items() if value}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def call(
        self, method: str, path: str, body: Any = None, spreadsheet: str = SPREADSHEET_ID, **query: Any
    ) -> Result:
        return self.client.simulate_request(
            method,
            f"/google-sheets/v4/spreadsheets/{spreadsheet}{path}",
            query_string=urlencode(query, doseq=True),
            body=json.dumps(body) if body is not None else None,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )

    def get(self, area: str, **query: Any) -> Any:
        return self.call("GET", f"/values/{quote(area, safe='')}", **query).json

    def append(self, *rows: list[Any], area: str = "Log!A1", **query: Any) -> Result:
        return self.call(
            "POST", f"/values/{quote(area, safe='')}:append", {"values": list(rows)}, **(RAW | query)
        )

    def put(self, area: str, *rows: list[Any], **query: Any) -> Result:
        return self.call("PUT", f"/values/{quote(area, safe='')}", {"values": list(rows)}, **(RAW | query))

    def batch(self, *requests: Record) -> Result:
        return self.call("POST", ":batchUpdate", {"requests": list(requests)})

    def claim(self, number: int, row: list[Any] = ROW, **more: Any) -> Result:
        """A row with its own metadata id, inserted below the header: all of it or nothing."""
        entered = [{"userEnteredValue": {"stringValue": each}} for each in row]
        return self.batch(
            {
                "insertDimension": {
                    "range": {"sheetId": 0, "dimension": "ROWS", "startIndex": 1, "endIndex": 2}
                }
            },
            {
                "updateCells": {
                    "start": {"sheetId": 0, "rowIndex": 1, "columnIndex": 0},
                    "rows": [{"values": entered}],
                    "fields": "userEnteredValue",
                }
            },
            _tag(1, metadataId=number, metadataValue=row[0], **more),
        )

    def search(self, **lookup: Any) -> list[Record]:
        filters = {"dataFilters": [{"developerMetadataLookup": lookup}]}
        found = self.call("POST", "/developerMetadata:search", filters).json
        return [each["developerMetadata"] for each in found.get("matchedDeveloperMetadata", [])]

    def row_of(self, number: int) -> int:
        [tag] = self.search(metadataId=number)
        row: int = tag["location"]["dimensionRange"]["startIndex"]
        return row + 1

    def by_hand(self, **move: Any) -> Record:
        [done] = self.world.settle("google-sheets", move)
        return done

    def effects(self) -> list[tuple[str, Any]]:
        return [(line["effect"], line["reference"]) for line in self.sheets.book.lines()]


def _tag(row: int, **more: Any) -> Record:
    place = {"sheetId": 0, "dimension": "ROWS", "startIndex": row, "endIndex": row + 1}
    tag = {"metadataKey": "rf_op", "visibility": "DOCUMENT", "location": {"dimensionRange": place}}
    return {"createDeveloperMetadata": {"developerMetadata": tag | more}}


def _error(result: Result) -> tuple[int, str, str]:
    error = result.json["error"]
    assert error["code"] == result.status_code
    return result.status_code, error["status"], error["message"]


def _bad(message: str) -> tuple[int, str, str]:
    return 400, "INVALID_ARGUMENT", message


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- tokens


def test_a_signed_assertion_gets_a_token_for_an_hour(bench: Bench) -> None:
    answer = bench.grant(_assertion())

    assert answer.status_code == 200
    assert answer.json.keys() == {"access_token", "expires_in", "token_type"}
    assert (answer.json["expires_in"], answer.json["token_type"]) == (3599, "Bearer")
    bench.now += timedelta(seconds=3599)
    assert bench.call("GET", "").status_code == 200
    bench.now += timedelta(seconds=1)
    assert bench.call("GET", "").status_code == 401


@pytest.mark.parametrize(
    ("_case", "changes", "error", "description"),
    [
        ("another account", {"iss": "x@y.iam.gserviceaccount.com"}, "invalid_grant", "Invalid grant: account not found"),
        ("another audience", {"aud": "https://example.com/token"}, "invalid_grant", "Invalid JWT: Failed audience check."),
        ("a list of audiences", {"aud": [SERVICE_ACCOUNT["token_uri"]]}, "invalid_grant", "Invalid JWT: Failed audience check."),
        ("too long", {"exp": START_S + 3601}, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."),
        ("over", {"iat": START_S - 3600, "exp": START_S}, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."),
        ("of tomorrow", {"iat": START_S + 301}, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."),
        ("no dates", {"iat": None, "exp": None}, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."),
        ("no scope", {"scope": None}, "invalid_scope", "Empty or missing scope not allowed."),
        ("a scope of nobody's", {"scope": "everything"}, "invalid_scope", "Invalid OAuth scope or ID token audience provided."),
    ],
)  # fmt: skip
def test_claims_that_do_not_hold_get_no_token(
    bench: Bench, _case: str, changes: Record, error: str, description: str
) -> None:
    answer = bench.grant(_assertion(changes))

    assert answer.status_code == 400
    assert answer.json == {"error": error, "error_description": description}


def test_a_signature_that_does_not_hold_gets_no_token(bench: Bench) -> None:
    good = _assertion()
    wrong = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}

    assert bench.grant(good[:-8] + "AAAAAAAA").json == wrong
    assert bench.grant(_assertion(header={"alg": "HS256"})).json == wrong
    assert bench.grant(_assertion(header={"kid": "another"})).json == wrong
    assert bench.grant("no.jwt").json == {"error": "invalid_grant", "error_description": "Bad Request"}
    bench.by_hand(key="deleted")
    assert bench.grant(good).json == wrong


def test_the_grant_must_be_the_right_one_and_complete(bench: Bench) -> None:
    missing = bench.grant(None)
    assert missing.json == {
        "error": "invalid_request",
        "error_description": "Required parameter is missing: assertion",
    }
    other = bench.grant(_assertion(), grant_type="password")
    assert other.json["error"] == "unsupported_grant_type"
    assert bench.grant(_assertion({"sub": "boss@example.com"})).status_code == 401
    as_json = bench.client.simulate_post("/google-sheets/token", json={"assertion": _assertion()})
    assert as_json.json["error"] == "invalid_request"


def test_the_address_that_was_called_is_an_audience_too(bench: Bench) -> None:
    here = {"aud": "http://falconframework.org/google-sheets/token"}

    assert bench.grant(_assertion(here)).status_code == 200
    assert bench.grant(_assertion({"aud": "http://falconframework.org/token"})).status_code == 400


def test_a_vendor_clock_that_runs_ahead_ends_tokens_and_grants_new_ones(bench: Bench) -> None:
    bench.world.ahead = timedelta(days=1)

    assert bench.call("GET", "").status_code == 401
    bench.token = bench.grant(_assertion()).json["access_token"]
    assert bench.call("GET", "").status_code == 200


@pytest.mark.parametrize(
    ("_case", "headers", "query", "status", "reason"),
    [
        ("nothing", {}, "", 403, "PERMISSION_DENIED"),
        ("a token of nobody's", {"Authorization": "Bearer ya29.other"}, "", 401, "UNAUTHENTICATED"),
        ("an API key", {}, "key=AIza-practice", 401, "UNAUTHENTICATED"),
    ],
)
def test_without_a_good_token_nothing_is_written(
    bench: Bench, _case: str, headers: dict[str, str], query: str, status: int, reason: str
) -> None:
    path = f"/google-sheets/v4/spreadsheets/{SPREADSHEET_ID}:batchUpdate"
    result = bench.client.simulate_post(path, headers=headers, query_string=query, json={"requests": []})

    assert _error(result)[:2] == (status, reason)
    is_token = "Authorization" in headers
    assert ("error=" in result.headers.get("www-authenticate", "")) is is_token
    assert bench.effects() == []


def test_a_read_only_scope_reads_values_and_nothing_else(bench: Bench) -> None:
    bench.token = bench.grant(_assertion({"scope": f"{SCOPE}.readonly"})).json["access_token"]

    assert bench.call("GET", "").status_code == 200
    assert bench.get("Log!A1")["values"] == [["Operation"]]
    refused = bench.append(ROW)
    assert _error(refused) == (403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
    assert refused.json["error"]["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert bench.call("GET", "/developerMetadata/1").status_code == 403


def test_the_drive_file_scope_opens_only_what_the_app_made(bench: Bench) -> None:
    bench.world.seed({"google-sheets": {"spreadsheets": [{"id": "made-by-us", "is_app_made": True}]}})
    bench.token = bench.grant(_assertion({"scope": DRIVE_FILE})).json["access_token"]

    assert bench.call("GET", "", spreadsheet="made-by-us").status_code == 200
    assert _error(bench.call("GET", "")) == (404, "NOT_FOUND", "Requested entity was not found.")


def test_sharing_decides_who_reads_and_who_writes(bench: Bench) -> None:
    bench.by_hand(sharing="reader")
    assert bench.call("GET", "").status_code == 200
    assert _error(bench.append(ROW)) == (403, "PERMISSION_DENIED", "The caller does not have permission")
    bench.by_hand(sharing="none")
    assert bench.call("GET", "").status_code == 403
    assert _error(bench.call("GET", "", spreadsheet="1other"))[:2] == (404, "NOT_FOUND")
    assert bench.effects() == []


def test_tokens_can_be_ended_from_outside(bench: Bench) -> None:
    assert bench.by_hand(tokens="expired") == {"tokens": 1}
    assert bench.call("GET", "").status_code == 401


# ---------------------------------------------------------------- the spreadsheet


def test_the_health_check_reads_the_tabs_through_a_field_mask(bench: Bench) -> None:
    assert bench.call("GET", "", fields="sheets.properties").json == {
        "sheets": [
            {
                "properties": {
                    "sheetId": 0,
                    "title": "Log",
                    "index": 0,
                    "sheetType": "GRID",
                    "gridProperties": {"rowCount": 1000, "columnCount": 26},
                }
            }
        ]
    }
    narrow = bench.call("GET", "", fields="spreadsheetId,sheets(properties(sheetId,title))").json
    assert narrow == {
        "spreadsheetId": SPREADSHEET_ID,
        "sheets": [{"properties": {"sheetId": 0, "title": "Log"}}],
    }


@pytest.mark.parametrize(
    "mask", ["sheets.propertys", "sheets(properties", "title", "sheets.properties.title.x"]
)
def test_a_field_mask_with_a_wrong_name_is_refused(bench: Bench, mask: str) -> None:
    result = bench.call("GET", "", fields=mask)

    assert _error(result) == _bad("Request contains an invalid argument.")
    [detail] = result.json["error"]["details"]
    assert detail["fieldViolations"][0]["description"].startswith("Error expanding 'fields' parameter.")


def test_a_mask_on_a_write_narrows_the_answer_not_the_effect(bench: Bench) -> None:
    assert bench.append(ROW, fields="updates.updatedRange").json == {"updates": {"updatedRange": "Log!A2:H2"}}
    assert bench.effects() == [("add_row", "rf-77-3")]


def test_unknown_names_in_query_and_body_are_refused(bench: Bench) -> None:
    result = bench.append(ROW, idempotencyKey="x")
    assert _error(result)[2].startswith('Invalid JSON payload received. Unknown name "idempotencyKey"')
    result = bench.call("PUT", "/values/Log!A2", {"value": [ROW]}, **RAW)
    assert _error(result) == _bad('Invalid JSON payload received. Unknown name "value": Cannot find field.')
    assert _error(bench.call("PUT", "/values/Log!A2", [], **RAW))[0] == 400
    assert bench.effects() == []


def test_a_path_that_is_not_there_is_a_404_page(bench: Bench) -> None:
    result = bench.call("DELETE", "")

    assert (result.status_code, result.headers["content-type"]) == (404, "text/html; charset=UTF-8")


# ---------------------------------------------------------------- append


def test_the_same_append_twice_is_two_rows(bench: Bench) -> None:
    first, second = bench.append(ROW), bench.append(ROW)

    assert first.json == {
        "spreadsheetId": SPREADSHEET_ID,
        "tableRange": "Log!A1:J1",
        "updates": {
            "spreadsheetId": SPREADSHEET_ID,
            "updatedRange": "Log!A2:H2",
            "updatedRows": 1,
            "updatedColumns": 8,
            "updatedCells": 8,
        },
    }
    assert (second.json["tableRange"], second.json["updates"]["updatedRange"]) == ("Log!A1:J2", "Log!A3:H3")
    assert bench.effects() == [("add_row", "rf-77-3")] * 2
    assert bench.sheets.grid() == [list(HEADER), ROW, ROW]


def test_the_book_says_which_row_came_to_be(bench: Bench) -> None:
    bench.append(ROW)

    assert bench.sheets.book.lines() == [
        {
            "at": START.isoformat(),
            "vendor": "google-sheets",
            "effect": "add_row",
            "id": "Log!A2:H2",
            "amount_minor": None,
            "currency": None,
            "target": {"spreadsheet": SPREADSHEET_ID, "sheet": "Log", "row": 2},
            "reference": "rf-77-3",
            "idempotency_key": None,
            "values": ROW,
            "via": "append_values",
        }
    ]


def test_append_goes_below_the_last_table_and_a_blank_line_splits_tables(bench: Bench) -> None:
    bench.put("Log!B4", ["x", "y"])

    assert bench.append(ROW, area="Log").json["tableRange"] == "Log!B4:C4"
    assert bench.append(ROW, area="Log!A1:J1").json["updates"]["updatedRange"] == "Log!A2:H2"
    none = bench.append(OTHER, area="Log!L9").json
    assert "tableRange" not in none
    assert none["updates"]["updatedRange"] == "Log!L9:S9"


def test_overwrite_takes_what_lies_below_and_insert_rows_pushes_it_down(bench: Bench) -> None:
    bench.put("Log!L2:L3", ["note"], ["more"])
    bench.append(ROW, insertDataOption="INSERT_ROWS")
    assert bench.get("Log!L2:L4")["values"] == [[], ["note"], ["more"]]

    bench.put("Log!A4", ["below"])
    bench.append([*OTHER, "", "", "", "mine"], insertDataOption="OVERWRITE", area="Log!A1:J1")
    assert bench.get("Log!L3:L4")["values"] == [["mine"], ["more"]]
    assert bench.get("Log!A2:A4")["values"] == [["rf-77-3"], ["rf-78-1"], ["below"]]


def test_append_grows_the_grid_when_it_is_full(bench: Bench) -> None:
    full = {
        "id": "full",
        "sheets": [{"title": "Log", "rows": [["Operation"], ["a"]], "rowCount": 2, "columnCount": 1}],
    }
    bench.world.seed({"google-sheets": {"spreadsheets": [full]}})

    def add(value: Any, way: str) -> Result:
        query = RAW | {"insertDataOption": way}
        return bench.call("POST", "/values/Log!A1:append", {"values": [value]}, "full", **query)

    assert add(["b"], "OVERWRITE").json["updates"]["updatedRange"] == "Log!A3"
    assert add(["c"], "INSERT_ROWS").json["updates"]["updatedRange"] == "Log!A4"
    assert _error(add(["d", "e"], "OVERWRITE")) == _bad(
        "Requested writing within range [Log!A5], but tried writing to column [B]"
    )
    assert bench.sheets.grid(spreadsheet="full") == [["Operation"], ["a"], ["b"], ["c"]]


# ---------------------------------------------------------------- values at a fixed address


def test_a_put_that_is_repeated_leaves_the_same_sheet_and_one_line(bench: Bench) -> None:
    answers = [bench.put("Log!A102:J102", ROW).json for _ in range(2)]

    assert (
        answers
        == [
            {
                "spreadsheetId": SPREADSHEET_ID,
                "updatedRange": "Log!A102:H102",
                "updatedRows": 1,
                "updatedColumns": 8,
                "updatedCells": 8,
            }
        ]
        * 2
    )
    assert bench.effects() == [("add_row", "rf-77-3")]


def test_a_put_changes_one_cell_empties_a_row_and_skips_nulls(bench: Bench) -> None:
    bench.put("Log!A2:J2", ROW)
    bench.put("Log!D2", ["reversed"])
    bench.put("Log!A2:J2", [None, None, None, None, "1"])
    assert bench.get("Log!A2:E2")["values"] == [["rf-77-3", ROW[1], "1001", "reversed", "1"]]
    bench.put("Log!A2:J2", [""] * 10)

    assert bench.effects() == [
        ("add_row", "rf-77-3"),
        ("update_row", "rf-77-3"),
        ("update_row", "rf-77-3"),
        ("clear_row", "rf-77-3"),
    ]


def test_the_answer_shows_the_values_where_asked(bench: Bench) -> None:
    answer = bench.put(
        "Log!A2",
        ["rf-1", 42.5],
        includeValuesInResponse="true",
        responseValueRenderOption="UNFORMATTED_VALUE",
    ).json

    assert answer["updatedData"] == {
        "range": "Log!A2:B2",
        "majorDimension": "ROWS",
        "values": [["rf-1", 42.5]],
    }
    assert "updatedData" not in bench.put("Log!A2", ["rf-1"], includeValuesInResponse="false").json


@pytest.mark.parametrize(
    ("_case", "area", "rows", "query", "message"),
    [
        ("tab renamed", "Journal!A2", [ROW], {}, "Unable to parse range: Journal!A2"),
        ("row nought", "Log!A0", [ROW], {}, "Unable to parse range: Log!A0"),
        ("no row", "Log!A", [ROW], {}, "Unable to parse range: Log!A"),
        ("below the grid", "Log!A1001:J1001", [ROW], {}, f"Range (Log!A1001:J1001) exceeds grid limits. {GRID}"),
        ("right of the grid", "Log!AA1", [["x"]], {}, f"Range (Log!AA1) exceeds grid limits. {GRID}"),
        ("past the grid", "Log!A1000", [ROW, OTHER], {}, "Requested writing within range [Log!A1000], but tried writing to row [1001]"),
        ("more rows than asked", "Log!A2:J2", [ROW, OTHER], {}, "Requested writing within range [Log!A2:J2], but tried writing to row [3]"),
        ("wider than asked", "Log!A2:B2", [ROW], {}, "Requested writing within range [Log!A2:B2], but tried writing to column [C]"),
        ("no option", "Log!A2", [ROW], {"valueInputOption": ""}, "Invalid value at 'value_input_option', \"\""),
        ("strange option", "Log!A2", [ROW], {"valueInputOption": "TYPED"}, "Invalid value at 'value_input_option', \"TYPED\""),
        ("strange view", "Log!A2", [ROW], {"responseValueRenderOption": "X"}, "Invalid value at 'value_render_option', \"X\""),
        ("an object in a cell", "Log!A2", [["a", {"b": 1}]], {}, 'Invalid values[0][1]: struct_value {"b": 1}'),
        ("a list in a cell", "Log!A2", [[["a"]]], {}, 'Invalid values[0][0]: list_value ["a"]'),
        ("a row that is none", "Log!A2", ["a"], {}, "Invalid value at 'data.values[0]' (type.googleapis.com/google.protobuf.ListValue)"),
        ("a cell too long", "Log!A2", [["x" * 50_001]], {}, "Your input contains more than the maximum of 50000 characters in a single cell."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    bench: Bench, _case: str, area: str, rows: list[Any], query: Record, message: str
) -> None:
    result = bench.put(area, *rows, **query)

    assert _error(result) == _bad(message)
    check_document(specs("google-sheets") / "error.response.schema.json", result.json)
    assert bench.effects() == []
    assert bench.sheets.grid() == [list(HEADER)]


def test_the_option_is_required_and_the_ranges_must_agree(bench: Bench) -> None:
    missing = bench.call("PUT", "/values/Log!A2", {"values": [ROW]})
    assert _error(missing) == _bad("'valueInputOption' is required but not specified")

    body = {"range": "Log!A3", "values": [ROW]}
    other = bench.call("PUT", "/values/Log!A2", body, **RAW)
    assert _error(other) == _bad("Request range[Log!A2] does not match value's range[Log!A3]")


def test_raw_keeps_a_formula_as_text_and_user_entered_brings_it_to_life(bench: Bench) -> None:
    typed = ['=IMPORTXML("http://x")', "4250", "007", "TRUE", "2026-05-04", "'7"]
    bench.put("Log!A2", typed)
    bench.put("Log!A3", typed, valueInputOption="USER_ENTERED")

    raw, entered = bench.get("Log!A2:F3", valueRenderOption="UNFORMATTED_VALUE")["values"]
    assert raw == typed
    assert entered == ["#N/A", 4250, 7, True, 46146.0, "7"]
    assert bench.get("Log!A3:E3")["values"] == [["#N/A", "4250", "7", "TRUE", "2026-05-04"]]
    assert bench.get("Log!A3", valueRenderOption="FORMULA")["values"] == [[typed[0]]]
    shown = bench.get(
        "Log!E3", valueRenderOption="UNFORMATTED_VALUE", dateTimeRenderOption="FORMATTED_STRING"
    )
    assert shown["values"] == [["2026-05-04"]]


def test_numbers_are_doubles(bench: Bench) -> None:
    bench.put("Log!A2", [2**60 + 1, 0.1, 4250])

    shown = bench.get("Log!A2:C2", valueRenderOption="UNFORMATTED_VALUE")["values"]
    assert shown == [[float(2**60), 0.1, 4250]]


# ---------------------------------------------------------------- reading


def test_values_are_read_by_rows_or_columns_without_blank_ends(bench: Bench) -> None:
    bench.put("Log!A2:C3", ["rf-1", "", "x"], ["rf-2"])

    assert bench.get("Log!A2:C9") == {
        "range": "Log!A2:C9",
        "majorDimension": "ROWS",
        "values": [["rf-1", "", "x"], ["rf-2"]],
    }
    column = bench.get("Log!A:A", majorDimension="COLUMNS")
    assert (column["range"], column["values"]) == ("Log!A1:A1000", [["Operation", "rf-1", "rf-2"]])
    assert bench.get("Log!A5:B9") == {"range": "Log!A5:B9", "majorDimension": "ROWS"}
    assert bench.get("A2:A")["values"] == [["rf-1"], ["rf-2"]]
    assert bench.get("Log!3:3")["values"] == [["rf-2"]]
    assert bench.get("'log'!$A$2")["values"] == [["rf-1"]]
    assert bench.get("Log")["range"] == "Log!A1:Z1000"
    assert bench.get("Log!C3:A2")["range"] == "Log!A2:C3"
    assert bench.get("Log!A999:ZZ2000")["range"] == "Log!A999:Z1000"


def test_a_title_with_a_blank_in_it_is_quoted(bench: Bench) -> None:
    book = {"id": "quoted", "sheets": [{"title": "Ada's log", "rows": [["x"]]}]}
    bench.world.seed({"google-sheets": {"spreadsheets": [book]}})
    area = quote("'Ada''s log'!A1:B2", safe="")
    result = bench.call("GET", f"/values/{area}", spreadsheet="quoted")

    assert result.json["range"] == "'Ada''s log'!A1:B2"


def test_several_ranges_are_read_at_once(bench: Bench) -> None:
    result = bench.call("GET", "/values:batchGet", ranges=["Log!A1", "Log!B1:C1"])

    assert [each["values"] for each in result.json["valueRanges"]] == [[["Operation"]], [["Time", "Order"]]]
    assert _error(bench.call("GET", "/values:batchGet", ranges="Nope!A1"))[0] == 400


def test_a_strange_way_of_reading_is_refused(bench: Bench) -> None:
    assert bench.get("Log!A1", majorDimension="DIAGONALS")["error"]["message"] == (
        "Invalid value at 'major_dimension', \"DIAGONALS\""
    )
    assert bench.get("Log!A1", valueRenderOption="PRETTY")["error"]["code"] == 400


def test_many_rows_in_one_call_are_written_all_or_not_at_all(bench: Bench) -> None:
    def write(*ranges: str) -> Result:
        data = [{"range": area, "values": [row]} for area, row in zip(ranges, (ROW, OTHER), strict=True)]
        return bench.call("POST", "/values:batchUpdate", RAW | {"data": data})

    refused = write("Log!A2:J2", "Journal!A3:J3")
    assert _error(refused) == _bad("Invalid data[1]: Unable to parse range: Journal!A3:J3")
    assert bench.effects() == []

    answer = write("Log!A2:J2", "Log!A3:J3").json
    assert {name: value for name, value in answer.items() if name.startswith("total")} == {
        "totalUpdatedRows": 2,
        "totalUpdatedColumns": 16,
        "totalUpdatedCells": 16,
        "totalUpdatedSheets": 1,
    }
    assert [each["updatedRange"] for each in answer["responses"]] == ["Log!A2:H2", "Log!A3:H3"]
    assert bench.effects() == [("add_row", "rf-77-3"), ("add_row", "rf-78-1")]


def test_values_sent_by_columns_are_turned(bench: Bench) -> None:
    body = {"majorDimension": "COLUMNS", "values": [["rf-1", "rf-2"], ["a"]]}
    bench.call("PUT", "/values/Log!A2", body, **RAW)

    assert bench.sheets.grid()[1:] == [["rf-1", "a"], ["rf-2"]]


# ---------------------------------------------------------------- batches and metadata


def test_a_row_is_claimed_with_its_own_id_and_a_repeat_is_refused_as_a_whole(bench: Bench) -> None:
    first, second = bench.claim(773), bench.claim(773)

    assert first.json == {
        "spreadsheetId": SPREADSHEET_ID,
        "replies": [
            {},
            {},
            {
                "createDeveloperMetadata": {
                    "developerMetadata": {
                        "metadataId": 773,
                        "metadataKey": "rf_op",
                        "metadataValue": "rf-77-3",
                        "location": {
                            "locationType": "ROW",
                            "dimensionRange": {
                                "sheetId": 0,
                                "dimension": "ROWS",
                                "startIndex": 1,
                                "endIndex": 2,
                            },
                        },
                        "visibility": "DOCUMENT",
                    }
                }
            },
        ],
    }
    assert _error(second) == _bad(
        "Invalid requests[2].createDeveloperMetadata: Cannot add developer metadata with ID [773] because"
        " developer metadata with that ID already exists."
    )
    assert bench.effects() == [("grow_sheet", None), ("add_row", "rf-77-3"), ("create_metadata", "rf-77-3")]
    assert bench.sheets.grid() == [list(HEADER), ROW]


def test_a_vendor_that_does_not_refuse_a_taken_id_adds_a_second_row(bench: Bench) -> None:
    bench.world.seed({"google-sheets": {"habits": {"refuses_taken_id": False}}})
    bench.claim(773)
    assert bench.claim(773).status_code == 200

    assert len(bench.sheets.book.lines("add_row")) == 2
    assert len(bench.search(metadataKey="rf_op")) == 2


def test_metadata_is_found_by_id_key_value_and_place(bench: Bench) -> None:
    bench.claim(773)
    bench.claim(781, OTHER)
    bench.batch(_tag(0, metadataKey="schema", metadataValue="2", location={"spreadsheet": True}))
    bench.batch(_tag(0, metadataKey="tab", metadataId=5, location={"sheetId": 0}))

    assert bench.call("GET", "/developerMetadata/773").json["metadataValue"] == "rf-77-3"
    assert _error(bench.call("GET", "/developerMetadata/774"))[:2] == (404, "NOT_FOUND")
    assert bench.call("GET", "/developerMetadata/x").status_code == 400
    assert [each["metadataId"] for each in bench.search(metadataKey="rf_op")] == [773, 781]
    assert [each["metadataId"] for each in bench.search(metadataKey="rf_op", metadataValue="rf-78-1")] == [
        781
    ]
    assert [each["metadataKey"] for each in bench.search(locationType="SPREADSHEET")] == ["schema"]
    assert bench.search(visibility="PROJECT") == []
    assert bench.call("POST", "/developerMetadata:search", {"dataFilters": []}).json == {}
    by_place = bench.call("POST", "/developerMetadata:search", {"dataFilters": [{"a1Range": "Log!A2:B2"}]})
    found = by_place.json["matchedDeveloperMetadata"]
    assert [each["developerMetadata"]["metadataId"] for each in found] == [781, 5]
    whole = bench.call(
        "GET", "", fields="developerMetadata.metadataKey,sheets.developerMetadata.metadataId"
    ).json
    assert whole == {
        "sheets": [{"developerMetadata": [{"metadataId": 5}]}],
        "developerMetadata": [{"metadataKey": "schema"}],
    }


def test_a_row_is_read_and_rewritten_by_its_metadata_wherever_it_is(bench: Bench) -> None:
    bench.claim(773)
    bench.by_hand(insert_rows={"at": 2, "count": 3})
    lookup = {"developerMetadataLookup": {"metadataId": 773}}

    read = bench.call("POST", "/values:batchGetByDataFilter", {"dataFilters": [lookup]}).json
    assert read["valueRanges"] == [
        {
            "valueRange": {"range": "Log!A5:Z5", "majorDimension": "ROWS", "values": [ROW]},
            "dataFilters": [lookup],
        }
    ]
    data = [{"dataFilter": lookup, "values": [[None, None, None, "reversed"]]}]
    written = bench.call("POST", "/values:batchUpdateByDataFilter", RAW | {"data": data}).json
    assert written["responses"][0]["updatedRange"] == "Log!A5:D5"
    assert (written["totalUpdatedCells"], written["responses"][0]["dataFilter"]) == (1, lookup)
    [line] = bench.sheets.book.lines("update_row")
    assert (line["reference"], line["target"]["row"], line["values"][3]) == ("rf-77-3", 5, "reversed")


def test_a_filter_that_finds_nothing_reads_and_writes_nothing(bench: Bench) -> None:
    lookup = {"developerMetadataLookup": {"metadataId": 9}}

    read = bench.call("POST", "/values:batchGetByDataFilter", {"dataFilters": [lookup]}).json
    assert read == {"spreadsheetId": SPREADSHEET_ID}
    data = [{"dataFilter": lookup, "values": [["x"]]}]
    written = bench.call("POST", "/values:batchUpdateByDataFilter", RAW | {"data": data}).json
    assert (written["responses"], written["totalUpdatedCells"]) == ([], 0)
    two = bench.call("POST", "/developerMetadata:search", {"dataFilters": [lookup | {"a1Range": "Log!A1"}]})
    assert two.status_code == 400
    assert bench.effects() == []


@pytest.mark.parametrize(
    ("_case", "request_", "message"),
    [
        ("unknown tab", {"appendDimension": {"sheetId": 5, "dimension": "ROWS", "length": 1}}, "Invalid requests[0].appendDimension: No grid with id: 5"),
        ("no length", {"appendDimension": {"dimension": "ROWS"}}, "Invalid requests[0].appendDimension: length must be greater than 0"),
        ("too many cells", {"appendDimension": {"dimension": "ROWS", "length": 400_000}}, "Invalid requests[0].appendDimension: This action would increase the number of cells in the workbook above the limit of 10000000 cells."),
        ("at the end", {"insertDimension": {"range": {"dimension": "ROWS", "startIndex": 1000, "endIndex": 1001}}}, "Invalid requests[0].insertDimension: range.startIndex must be less than the grid size (1000) if inheritFromBefore is false."),
        ("past the end", {"insertDimension": {"range": {"dimension": "ROWS", "startIndex": 1001, "endIndex": 1002}}}, "Invalid requests[0].insertDimension: range.startIndex is larger than current grid size (1000)"),
        ("no end", {"insertDimension": {"range": {"dimension": "ROWS", "startIndex": 1}}}, "Invalid requests[0].insertDimension: The range must be bounded, and its endIndex must be greater than its startIndex."),
        ("no fields", {"updateCells": {"start": {}, "rows": []}}, "Invalid requests[0].updateCells: At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)"),
        ("neither start nor range", {"updateCells": {"rows": [], "fields": "*"}}, "Invalid requests[0].updateCells: One of start and range must be set."),
        ("below the grid", {"updateCells": {"start": {"rowIndex": 1000}, "rows": [{"values": [{}]}], "fields": "*"}}, f"Invalid requests[0].updateCells: Range (Log!A1001) exceeds grid limits. {GRID}"),
        ("two values", {"updateCells": {"start": {}, "rows": [{"values": [{"userEnteredValue": {"stringValue": "a", "numberValue": 1}}]}], "fields": "*"}}, 'Invalid requests[0].updateCells: Invalid value at \'user_entered_value\': {"stringValue": "a", "numberValue": 1}'),
        ("no key", _tag(1, metadataKey=""), "Invalid requests[0].createDeveloperMetadata: Developer metadata must have a key specified."),
        ("no visibility", _tag(1, visibility=None), "Invalid requests[0].createDeveloperMetadata: Developer metadata must have visibility specified."),
        ("no place", _tag(1, location={}), "Invalid requests[0].createDeveloperMetadata: Developer metadata must have exactly one location specified."),
        ("two rows", _tag(1, location={"dimensionRange": {"dimension": "ROWS", "startIndex": 1, "endIndex": 3}}), "Invalid requests[0].createDeveloperMetadata: The dimension range must represent a single row or column."),
        ("negative id", _tag(1, metadataId=-1), "Invalid requests[0].createDeveloperMetadata: Invalid value at 'metadata_id' (TYPE_INT32), -1"),
        ("an id too big", _tag(1, metadataId=2**31), "Invalid requests[0].createDeveloperMetadata: Invalid value at 'metadata_id' (TYPE_INT32), 2147483648"),
        ("no request", {}, "Invalid requests[0]: No request set."),
        ("a request of nobody's", {"frobnicate": {}}, "Invalid JSON payload received. Unknown name \"frobnicate\" at 'requests[0]': Cannot find field."),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_by_its_number(
    bench: Bench, _case: str, request_: Record, message: str
) -> None:
    assert _error(bench.batch(request_)) == _bad(message)
    assert bench.effects() == []
    assert bench.search(metadataKey="rf_op") == []


def test_a_batch_without_requests_is_refused(bench: Bench) -> None:
    assert _error(bench.batch()) == _bad("Must specify at least one request.")


def test_update_cells_in_a_range_empties_the_rest_of_it(bench: Bench) -> None:
    bench.put("Log!A2:B3", ["rf-1", "a"], ["rf-2", "b"])
    area = {"startRowIndex": 1, "endRowIndex": 3, "startColumnIndex": 0, "endColumnIndex": 2}
    cells = [
        {"userEnteredValue": {"stringValue": "rf-1"}},
        {"userEnteredValue": {"numberValue": 42.5}},
    ]
    update = {"range": area, "rows": [{"values": cells}], "fields": "userEnteredValue"}
    assert bench.batch({"updateCells": update}).json["replies"] == [{}]

    assert bench.sheets.grid()[1:] == [["rf-1", 42.5]]
    assert bench.effects()[2:] == [("update_row", "rf-1"), ("clear_row", "rf-2")]
    assert bench.batch({"updateCells": update | {"rows": [{}, {}, {}]}}).status_code == 400


def test_the_grid_grows_so_that_a_later_row_fits(bench: Bench) -> None:
    assert bench.put("Log!A1500", ROW).status_code == 400
    bench.batch({"appendDimension": {"sheetId": 0, "dimension": "ROWS", "length": 1000}})
    bench.batch({"appendDimension": {"sheetId": 0, "dimension": "COLUMNS", "length": 1}})

    assert bench.put("Log!A1500", ROW).status_code == 200
    assert bench.get("Log!AA2000")["range"] == "Log!AA2000"
    assert [line["target"]["count"] for line in bench.sheets.book.lines("grow_sheet")] == [1000, 1]


def test_metadata_fills_up(bench: Bench) -> None:
    bench.world.seed({"google-sheets": {"habits": {"metadata_chars_most": 30}}})

    assert [bench.claim(number).status_code for number in (1, 2, 3)] == [200, 200, 400]
    assert len(bench.sheets.book.lines("add_row")) == 2
    assert bench.batch(_tag(0, location={"spreadsheet": True})).status_code == 200


def test_an_id_is_made_up_where_none_is_given(bench: Bench) -> None:
    reply = bench.batch(_tag(1)).json["replies"][0]["createDeveloperMetadata"]["developerMetadata"]

    assert 0 < reply["metadataId"] < 2**31
    assert "metadataValue" not in reply


# ---------------------------------------------------------------- people at the spreadsheet


def test_metadata_moves_with_rows_that_people_insert_delete_and_drag(bench: Bench) -> None:
    bench.claim(781, OTHER)
    bench.claim(773)
    assert (bench.row_of(773), bench.row_of(781)) == (2, 3)

    bench.by_hand(insert_rows={"at": 2})
    assert (bench.row_of(773), bench.row_of(781)) == (3, 4)
    bench.by_hand(move_row={"from": 4, "to": 2})
    assert (bench.row_of(773), bench.row_of(781)) == (4, 2)
    assert bench.sheets.grid()[1:] == [OTHER, [], ROW]
    bench.by_hand(delete_rows={"at": 2, "count": 2})
    assert bench.row_of(773) == 2
    assert bench.search(metadataId=781) == []
    assert bench.call("GET", "/developerMetadata/781").status_code == 404
    assert len(bench.sheets.book.lines()) == 6


@pytest.mark.parametrize(("moves", "row"), [(False, 2), (True, 3)])
def test_a_sort_moves_the_cells_and_with_them_the_metadata_or_not(
    bench: Bench, moves: bool, row: int
) -> None:
    bench.world.seed({"google-sheets": {"habits": {"sort_moves_metadata": moves}}})
    bench.claim(781, OTHER)
    bench.claim(773)
    bench.by_hand(sort="A", descending=True)

    assert bench.sheets.grid() == [list(HEADER), OTHER, ROW]
    assert bench.row_of(773) == row


def test_a_sort_puts_numbers_first_and_blanks_last(bench: Bench) -> None:
    bench.put("Log!A2:B5", ["b"], ["", "x"], [10], [9])
    bench.by_hand(sort="A")

    assert bench.sheets.grid()[1:] == [[9], [10], ["b"], ["", "x"]]


def test_people_type_and_rename_and_that_is_not_in_our_book(bench: Bench) -> None:
    bench.by_hand(edit={"range": "Log!D2", "values": [["=1+1"]]})
    assert bench.get("Log!D2", valueRenderOption="FORMULA")["values"] == [["=1+1"]]
    bench.by_hand(rename="Journal")

    assert _error(bench.append(ROW)) == _bad("Unable to parse range: Log!A1")
    assert bench.call("GET", "", fields="sheets.properties.title").json["sheets"][0]["properties"] == {
        "title": "Journal"
    }
    assert bench.effects() == []


def test_a_tab_protected_for_us_keeps_people_out(bench: Bench) -> None:
    bench.by_hand(protection="ours")

    with pytest.raises(ValueError, match="nobody works in it by hand"):
        bench.by_hand(sort="A")
    assert bench.append(ROW).status_code == 200


def test_a_tab_protected_against_us_takes_nothing_from_us(bench: Bench) -> None:
    bench.by_hand(protection="theirs")

    assert _error(bench.append(ROW)) == _bad(PROTECTED)
    assert _error(bench.put("Log!A2", ROW)) == _bad(PROTECTED)
    assert _error(bench.claim(1)) == _bad(f"Invalid requests[0].insertDimension: {PROTECTED}")
    assert bench.effects() == []
    bench.by_hand(edit={"range": "Log!A2", "values": [["theirs"]]})
    assert bench.sheets.grid()[1:] == [["theirs"]]


@pytest.mark.parametrize(
    "move",
    [{"sort": "AAA"}, {"insert_rows": {"at": 0}}, {"delete_rows": {"at": 1001}}, {"move_row": {"from": 1001, "to": 1}}, {"sharing": "all"}, {"edit": {"range": "Nope!A1", "values": []}}],
)  # fmt: skip
def test_a_move_that_cannot_be_done_says_so(bench: Bench, move: Record) -> None:
    with pytest.raises(ValueError, match=r"google-sheets settles|cannot edit"):
        bench.world.settle("google-sheets", move)


def test_a_move_on_what_is_not_there_says_so(bench: Bench) -> None:
    with pytest.raises(NoSuchObjectError, match="no spreadsheet"):
        bench.by_hand(spreadsheet="other", sort="A")
    with pytest.raises(NoSuchObjectError, match="no sheet"):
        bench.by_hand(sheet="Other", sort="A")


# ---------------------------------------------------------------- seed, quota, faults


def test_a_seeded_spreadsheet_is_there_with_its_tabs_and_rows(bench: Bench) -> None:
    sheets = [
        {"title": "Log", "sheetId": 7, "rows": [["Operation"], ["rf-1", 4250]], "rowCount": 50},
        {"title": "Notes", "columnCount": 3},
    ]
    made = bench.world.seed({"google-sheets": {"spreadsheets": [{"id": "b2", "sheets": sheets}]}})

    assert made["google-sheets"]["spreadsheets"] == [{"id": "b2", "sheets": {"Log": 7, "Notes": 1}}]
    tabs = bench.call("GET", "", spreadsheet="b2", fields="sheets.properties.gridProperties").json["sheets"]
    assert [each["properties"]["gridProperties"] for each in tabs] == [
        {"rowCount": 50, "columnCount": 26},
        {"rowCount": 1000, "columnCount": 3},
    ]
    one = bench.call("GET", "", spreadsheet="b2", ranges="Notes!A1", fields="sheets.properties.title").json
    assert one == {"sheets": [{"properties": {"title": "Notes"}}]}
    assert bench.sheets.grid(spreadsheet="b2") == [["Operation"], ["rf-1", 4250]]
    assert bench.effects() == []


@pytest.mark.parametrize(
    "book",
    [{"title": "no id"}, {"id": "x", "sharing": "all"}, {"id": "x", "sheets": [{"title": "a", "protection": "iron"}]}, {"id": "x", "sheets": [{"title": "a", "rows": [[{}]]}]}],
)  # fmt: skip
def test_a_seed_that_cannot_be_read_says_so(bench: Bench, book: Record) -> None:
    with pytest.raises(ValueError, match=r"google-sheets|is shared as|protection is"):
        bench.world.seed({"google-sheets": {"spreadsheets": [book]}})


def test_the_quota_counts_calls_in_a_minute_not_rows(bench: Bench) -> None:
    bench.world.seed({"google-sheets": {"habits": {"writes_per_minute": 2}}})
    bench.append(ROW, OTHER)
    bench.append(ROW)
    refused = bench.append(ROW)

    assert _error(refused) == (
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute per user' of"
        " service 'sheets.googleapis.com' for consumer 'project_number:100000000001'.",
    )
    assert "retry-after" not in refused.headers
    assert bench.call("GET", "").status_code == 200
    assert len(bench.sheets.book.lines("add_row")) == 3
    bench.now += timedelta(minutes=1)
    assert bench.append(ROW).status_code == 200


def test_faults_answer_in_the_vendors_own_shapes(bench: Bench) -> None:
    schema = specs("google-sheets") / "error.response.schema.json"
    for status in (429, 500, 503):
        bench.world.faults.add(Fault(Kind.STATUS, "google-sheets", status=status))
    for code in ("", "rateLimitExceeded", "SERVICE_DISABLED"):
        bench.world.faults.add(Fault(Kind.REFUSE, "google-sheets", code=code))
    bench.world.faults.add(Fault(Kind.REFUSE_AUTH, "google-sheets"))
    answers = [bench.append(ROW) for _ in range(7)]

    assert [_error(each)[:2] for each in answers] == [
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        *[(403, "PERMISSION_DENIED")] * 3,
        (401, "UNAUTHENTICATED"),
    ]
    for each in answers:
        check_document(schema, each.json)
    assert answers[4].json["error"]["errors"][0]["reason"] == "rateLimitExceeded"
    assert answers[5].json["error"]["details"][0]["reason"] == "SERVICE_DISABLED"
    assert bench.effects() == []


def test_the_token_endpoint_fails_in_its_own_words(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "google-sheets", "token", status=503))
    bench.world.faults.add(Fault(Kind.REFUSE, "google-sheets", "token"))
    bench.world.faults.add(Fault(Kind.REFUSE_AUTH, "google-sheets", "token"))
    answers = [bench.grant(_assertion()) for _ in range(3)]

    assert [each.status_code for each in answers] == [503, 400, 400]
    assert [each.json["error"] for each in answers] == ["internal_failure", "invalid_grant", "invalid_grant"]


def test_a_reply_lost_after_an_append_leaves_a_row_and_a_lost_request_none(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LOST_REQUEST, "google-sheets", "append_values"))
    bench.world.faults.add(Fault(Kind.LOST_REPLY, "google-sheets", "append_values"))

    with pytest.raises(ConnectionCutError):
        bench.append(ROW)
    assert bench.effects() == []
    with pytest.raises(ConnectionCutError):
        bench.append(ROW)
    assert bench.effects() == [("add_row", "rf-77-3")]
    assert bench.get("Log!A:A", majorDimension="COLUMNS")["values"] == [["Operation", "rf-77-3"]]


def test_a_reset_forgets_everything(bench: Bench) -> None:
    bench.claim(773)
    bench.world.reset("google-sheets")

    assert bench.effects() == []
    assert bench.sheets.grid() == [list(HEADER)]
    assert bench.call("GET", "").status_code == 401


# ---------------------------------------------------------------- the published description


def _described(name: str, answer: Any) -> None:
    """Fails unless the answer is a whole of that schema of the discovery document, with no name that is not in it."""

    def modern(value: Any) -> Any:
        if isinstance(value, list):
            return [modern(each) for each in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("$ref"), str):
            return {"$ref": f"#/schemas/{value['$ref']}"}
        if value.get("type") == "any":
            return {}
        closed = {"additionalProperties": False} if value.get("type") == "object" else {}
        return closed | {k: modern(v) for k, v in value.items() if k not in ("format", "id", "description")}

    document = load(specs("google-sheets") / "sheets.v4.discovery.json")
    schemas = {key: modern(value) for key, value in document["schemas"].items()}
    validator = Draft202012Validator({"$ref": f"#/schemas/{name}", "schemas": schemas})
    assert [error.message for error in validator.iter_errors(answer)] == []


def test_answers_fit_the_discovery_document(bench: Bench) -> None:
    lookup = {"dataFilters": [{"developerMetadataLookup": {"metadataKey": "rf_op"}}]}
    data = {"data": [{"range": "Log!A5", "values": [ROW]}], "includeValuesInResponse": True}

    _described("BatchUpdateSpreadsheetResponse", bench.claim(773).json)
    _described("AppendValuesResponse", bench.append(OTHER, includeValuesInResponse="true").json)
    _described("UpdateValuesResponse", bench.put("Log!A9", ROW).json)
    _described("BatchUpdateValuesResponse", bench.call("POST", "/values:batchUpdate", RAW | data).json)
    _described("ValueRange", bench.get("Log!A1:J9"))
    _described("BatchGetValuesResponse", bench.call("GET", "/values:batchGet", ranges="Log!A1").json)
    _described(
        "SearchDeveloperMetadataResponse", bench.call("POST", "/developerMetadata:search", lookup).json
    )
    _described("DeveloperMetadata", bench.call("GET", "/developerMetadata/773").json)
    found = bench.call("POST", "/values:batchGetByDataFilter", lookup)
    _described("BatchGetValuesByDataFilterResponse", found.json)
    bench.batch(_tag(0, location={"spreadsheet": True}), _tag(0, location={"sheetId": 0}))
    _described("Spreadsheet", bench.call("GET", "").json)
