"""Practice Google Sheets: the token endpoint of service accounts, and Sheets API v4 for values, batches and developer metadata.

Paths: `/token` (oauth2.googleapis.com) and `/v4/spreadsheets/…` (sheets.googleapis.com) live under one prefix. Shapes: the
vendor's own discovery document, revision 20261019, and https://developers.google.com/workspace/sheets/api, read 2026-11-25;
wording of errors as callers report it in public. Where they are silent, `Habits` names the practised reading.

Strict about: the signed assertion (RS256, issuer, audience, scope, an hour at most; judged by the caller's time, also where
the vendors' clock runs ahead), scopes of each method, sharing, names in query and body, A1 ranges and the grid's edge,
`valueInputOption`, cell types and length, protected tabs, field masks. A batch is applied as a whole or not at all. Nothing is
idempotent by key: the same append twice is two rows. A `metadataId` can be taken once.

A row is a thing of its own here: metadata hangs on it and moves when rows are inserted, deleted or dragged; what a sort does,
`Habits` says. Grid data (`includeGridData`) and calculation are not practised: a formula shows `#N/A`.

`seed({"spreadsheets": [{"id", "title"?, "sharing"?: "writer" | "reader" | "none", "is_app_made"?, "sheets"?: [{"title",
"sheetId"?, "rows"?: [[…]], "rowCount"?, "columnCount"?, "protection"?: "none" | "ours" | "theirs"}]}], "habits"?: {…}})`. At first
there is `SPREADSHEET_ID` with the tab `SHEET` and `HEADER` in its first row. Protection "ours": only we write; "theirs": we may not.

`settle` does what people do by hand, in `SPREADSHEET_ID` and `SHEET` unless `"spreadsheet"` and `"sheet"` name others; row numbers
as people see them: `{"sort": "<column>", "descending"?, "from_row"?}`, `{"insert_rows": {"at", "count"?}}`, `{"delete_rows":
{"at", "count"?}}`, `{"move_row": {"from", "to"}}`, `{"edit": {"range", "values"}}`, `{"rename": "<title>"}`, `{"protection": …}`,
`{"sharing": …}`; and `{"tokens": "expired"}`, `{"key": "deleted"}`. refuse takes a code of `REFUSALS`.

Book: `add_row` (a blank row got content), `update_row` (its content changed; writing the same again is no effect),
`clear_row`, `create_metadata`, `delete_metadata`, `grow_sheet`. `reference` is what column A says, or the
metadata's value. What people do by hand, and what is seeded, is not in the book.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import random
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, NoReturn
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from refundflow.sandbox.base import (
    Answer,
    Call,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

CLIENT_EMAIL: Final = "refundflow@practice-project.iam.gserviceaccount.com"
PRIVATE_KEY_ID: Final = "practice0key0id0000000000000000000000001"
# For practice only, known to everybody: made for this file, opens nothing anywhere.
PRIVATE_KEY: Final = """\
-----BEGIN PRIVATE KEY-----
MIIEvwIBADANBgkqhkiG9w0BAQEFAASCBKkwggSlAgEAAoIBAQC5/zGslwcPNoBm
dVgCzGutFFY7/yfqmAkPmBnUOk0sk9qF+kI0qGpjfY7Ef60bfBepoRY4fjk+oPQs
lTMBSZiyRmh1p9LU4f+EuNiZOHu0deX4rhzvVnNC635RJMm7WJxJOaS2JhdABvT4
bJXJIat2UI9M8o9HLmpkSf4gjfbYi4WYydjgIyBR5bQ7lGnm+JY0o+AuQ28h5POj
t19lRPOQOQWYHOr8od/BeiO+7bXJA8+l644M4w8Mq8QW4lCtuidoBynbW2/LeW0u
8jNNFxFzRi3pMN/ZTX4YWJWIUSN0+bhJXbiYlyb4X/Np+fLOIsYqAfdG3f57ltVd
hN3WHGV7AgMBAAECggEAAJbPCwou2Ip9OMORhji+q7Rhf9Nu6xMnV58otKQWoaEV
rtBg0QRzic+z2eoL5Qca4BTOrMf8/iQ3gcQSENtoGkK7r2TbHDwScGUIVymb69ZC
CzVzHALzp+8IcGNaue3kofh0VvR+gFuObRJuZnKKI3yCHopqIgtwlxxw4lODEVnv
iSzzLbKrZ15ZqWR57+J4+jctTVW2RezeknuMmsTjfmSVPW9R61RWYz8ZAvJ0PYm1
NndEyspxest70Flag1Pzy2Gzs/17+XKRTjhvVlzDprkNqHI17s2s/f4h19LlgsYl
OOHJJyNKT0iIbPxaefM+lyU+NMfyRRoIw2cbc8PiIQKBgQDkLnRbTcvba+CLWWmp
EPX5CI6D2QlozESwibQv0GNAWiJYDW5rCb2yWCjMBfw3gJuCVyhoMJkQUBcTPfAw
Wt2KXq6wwknSUd3ScAw61mHBcZkCRIrWk2iy0DQQQGcFWLqUBQ/JzbZNwuaAIFwm
q8BmTeftX8CL3T5o/E9rxGQ4qwKBgQDQrChNYNfvwMuvdJWlFO6y4CHvsvDcrE97
wIkoJDfiQiaimJ1TRvfoJ4ekfBz03eDE5pIGmhrLs3begpVyHW6Fi0m+uBxn/4vg
P6ismdIDpTCqO/qq0b2Ui0r0r3s8StTnzQQRPkNQTwobQlAOtgViufNfUu39kipt
x2F+vGImcQKBgQCPZCH6voi8+q3A5A9iDyaDuLzWXi1rjfIcfmydH3c/mWS7sLUS
zqxGxt/cVmaI+mi/H8ZksyV8+teFYAbwXCmcKqPcsDtzz75137PPxajox1o/8pLN
BRVmSTBuhgo3cerN2eByELPfafsvySYfpw7hO1Pj96goPIBbuTKvplrUwQKBgQCW
Jlp1myql3I9zt6r59z7uvTIOHS8NSnuC636FwNHpX3oXY0NJKfa2OMN0is33MDRM
2i/Wykpfqsnsv/+y9hSRyTEOJ8Jg3tOST5waXjBs6Q9EXxY2lecZHMWZnS9Kqfna
tX2ovqmG/uihxqx+eWEUsgK5451V6TfYeC/iFsF1MQKBgQC2DiD7v2Y/5pNZbcNl
xNxq+YDL8cIWZING42zPE0ZshV92Q2DhZtxuzVP0EbfaoTFW7U5PIJZ065Bnib4V
AnKKr6Zcry3u6S50+JaCEKKe1N3I7sdBRtN40naUZtWbg58J5H/Hnljm7VLlTHkw
x09KDU6Gxu5OZrUkGsbIntnVeA==
-----END PRIVATE KEY-----
"""
# As the vendor hands it out; a rehearsal puts its own `token_uri`.
SERVICE_ACCOUNT: Final[Mapping[str, str]] = {
    "type": "service_account",
    "project_id": "practice-project",
    "private_key_id": PRIVATE_KEY_ID,
    "private_key": PRIVATE_KEY,
    "client_email": CLIENT_EMAIL,
    "client_id": "100000000000000000001",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}
SPREADSHEET_ID: Final = "1Practice0Cancellation0Log00000000000000000x"
SHEET: Final = "Log"
HEADER: Final = (
    *("Operation", "Time", "Order", "State", "Amount"),
    *("Currency", "Reference", "Source", "Case", "Note"),
)

SCOPE: Final = "https://www.googleapis.com/auth/spreadsheets"
DRIVE: Final = "https://www.googleapis.com/auth/drive"
DRIVE_FILE: Final = "https://www.googleapis.com/auth/drive.file"
WRITE_SCOPES: Final = frozenset({SCOPE, DRIVE, DRIVE_FILE})
READ_SCOPES: Final = WRITE_SCOPES | {f"{SCOPE}.readonly", f"{DRIVE}.readonly"}

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_LIFE_S: Final = 3_600
SKEW_S: Final = 300
CELL_MOST: Final = 50_000
CELLS_MOST: Final = 10_000_000

REFUSALS: Final[Mapping[str, tuple[int, str, str]]] = {
    "PERMISSION_DENIED": (403, "The caller does not have permission", ""),
    "SERVICE_DISABLED": (
        403,
        "Google Sheets API has not been used in project 100000000001 before or it is disabled.",
        "SERVICE_DISABLED",
    ),
    "rateLimitExceeded": (403, "Rate Limit Exceeded", ""),
    "NOT_FOUND": (404, "Requested entity was not found.", ""),
    "INVALID_ARGUMENT": (400, "Request contains an invalid argument.", ""),
}

_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_AUDIENCES: Final = (
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
)
_READS: Final = ("get_spreadsheet", "get_values", "batch_get_values")  # methods that a read-only scope opens
_QUOTA_READS: Final = (*_READS, "batch_get_by_data_filter", "search_metadata", "get_metadata")
_EVERYWHERE: Final = ("fields", "alt", "key", "prettyPrint", "quotaUser", "$.xgafv")
_READING: Final = ("majorDimension", "valueRenderOption", "dateTimeRenderOption")
_WRITING: Final = (
    *("valueInputOption", "includeValuesInResponse"),
    *("responseValueRenderOption", "responseDateTimeRenderOption"),
)
_QUERY: Final[Mapping[str, tuple[str, ...]]] = {
    "get_spreadsheet": ("ranges", "commentsViewMode", "excludeTablesInBandedRanges"),
    "get_values": _READING,
    "batch_get_values": ("ranges", *_READING),
    "update_values": _WRITING,
    "append_values": ("insertDataOption", *_WRITING),
}
_DIMENSIONS: Final = ("ROWS", "COLUMNS")
_VISIBILITIES: Final = ("DOCUMENT", "PROJECT")
_PROTECTIONS: Final = ("none", "ours", "theirs")
_SHARINGS: Final = ("writer", "reader", "none")
_A1: Final = re.compile(r"\$?([A-Za-z]{0,3})\$?([1-9]\d*)?(?::\$?([A-Za-z]{0,3})\$?([1-9]\d*)?)?")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?")
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json; charset=UTF-8"
_REALM: Final = 'Bearer realm="https://accounts.google.com/"'

# The parts of a spreadsheet that a field mask may name, as far as they are practised; an empty dict is a leaf.
Mask = dict[str, "Mask"]
_META: Final[Mask] = {
    **{name: {} for name in ("metadataId", "metadataKey", "metadataValue", "visibility")},
    "location": {
        **{name: {} for name in ("locationType", "spreadsheet", "sheetId")},
        "dimensionRange": {name: {} for name in ("sheetId", "dimension", "startIndex", "endIndex")},
    },
}
_SPREADSHEET: Final[Mask] = {
    "spreadsheetId": {},
    "spreadsheetUrl": {},
    "properties": {name: {} for name in ("title", "locale", "autoRecalc", "timeZone")},
    "developerMetadata": _META,
    "sheets": {
        "developerMetadata": _META,
        "properties": {
            **{name: {} for name in ("sheetId", "title", "index", "sheetType", "hidden")},
            "gridProperties": {name: {} for name in ("rowCount", "columnCount", "frozenRowCount")},
        },
    },
}


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or what a rehearsal wants otherwise.

    `refuses_taken_id`: a metadata id that is there refuses the whole batch (seen by callers; the text only says that ids are
    unique); else the entry gets another id. `sort_moves_metadata`: a sort moves rows with their metadata; else it moves what
    the cells hold, and the metadata stays where the row was. `metadata_chars_most`: keys and values on one tab, or on the
    spreadsheet itself. `reads_per_minute`, `writes_per_minute`: 0 for no limit; the vendor's are 60 each for one user.
    """

    refuses_taken_id: bool = True
    sort_moves_metadata: bool = False
    metadata_chars_most: int = 30_000
    reads_per_minute: int = 0
    writes_per_minute: int = 0


# ---------------------------------------------------------------- the workbook

Dimension = Literal["ROWS", "COLUMNS"]


@dataclass(frozen=True, slots=True)
class Cell:
    """`formula`: what was typed where it is a formula. `shown`: how a date looks, whose value is a serial number."""

    value: str | int | float | bool
    formula: str = ""
    shown: str = ""


@dataclass(slots=True)
class Tab:
    """A grid. Rows and columns are numbers that never change and never come back; cells and metadata hang on them."""

    id: int
    title: str
    protection: str = "none"
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    made: int = 0

    def copy(self) -> Tab:
        return replace(self, rows=[*self.rows], columns=[*self.columns], cells=dict(self.cells))

    def lines(self, dimension: Dimension) -> list[int]:
        return self.rows if dimension == "ROWS" else self.columns

    def insert(self, dimension: Dimension, index: int, count: int) -> None:
        self.lines(dimension)[index:index] = range(self.made, self.made + count)
        self.made += count

    def at(self, row: int, column: int) -> Cell | None:
        return self.cells.get((self.rows[row], self.columns[column]))

    def content(self, line: int) -> list[Any]:
        """What a row holds, without blanks at its end."""
        held = (self.cells.get((line, column)) for column in self.columns)
        return _trimmed([cell.formula or cell.value if cell else "" for cell in held])

    def filled(self) -> set[tuple[int, int]]:
        """Row and column indexes of every cell that holds something."""
        row_at = {line: index for index, line in enumerate(self.rows)}
        column_at = {line: index for index, line in enumerate(self.columns)}
        return {(row_at[row], column_at[column]) for row, column in self.cells}

    def height(self) -> int:
        """How many rows there are down to the last one with something in it."""
        return max((row + 1 for row, _ in self.filled()), default=0)

    def spell(self, top: int, left: int, bottom: int, right: int) -> str:
        """A range in A1 notation; ends are exclusive."""
        title = self.title
        if not re.fullmatch(r"[A-Za-z_]\w*", title) or re.fullmatch(r"[A-Za-z]{1,3}\d+", title):
            title = "'" + title.replace("'", "''") + "'"
        first, last = f"{_letters(left)}{top + 1}", f"{_letters(right - 1)}{bottom}"
        return f"{title}!{first}" if first == last else f"{title}!{first}:{last}"


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle inside a grid; ends are exclusive. `is_cell`: asked for as one cell, so what is written may reach further."""

    tab: Tab
    top: int
    left: int
    bottom: int
    right: int
    is_cell: bool = False

    @property
    def name(self) -> str:
        return self.tab.spell(self.top, self.left, self.bottom, self.right)


@dataclass(frozen=True, slots=True)
class Place:
    """Where metadata hangs. `kind`: ROW, COLUMN, SHEET or SPREADSHEET. `line`: the row's or column's own number."""

    kind: str
    tab: int = -1
    line: int = -1


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of developer metadata."""

    id: int
    key: str
    value: str
    visibility: str
    place: Place


@dataclass(slots=True)
class Workbook:
    """A spreadsheet. `touched` and `grown` tell the book what a draft changed."""

    id: str
    title: str
    sharing: str = "writer"
    is_app_made: bool = False
    tabs: dict[int, Tab] = field(default_factory=dict)
    tags: dict[int, Tag] = field(default_factory=dict)
    touched: list[tuple[int, int]] = field(default_factory=list)
    grown: list[Record] = field(default_factory=list)

    def draft(self) -> Workbook:
        tabs = {key: tab.copy() for key, tab in self.tabs.items()}
        return replace(self, tabs=tabs, tags=dict(self.tags), touched=[], grown=[])

    def tab(self, key: Any) -> Tab:
        """The tab with that number; not sent means 0, as everywhere in this API."""
        tab = self.tabs.get(_int(key if key is not None else 0, "sheet_id"))
        return tab if tab is not None else fail(f"No grid with id: {key or 0}")

    def titled(self, title: str) -> Tab | None:
        return next((tab for tab in self.tabs.values() if tab.title.casefold() == title.casefold()), None)

    def put(self, tab: Tab, row: int, column: int, cell: Cell | None) -> None:
        _check_protection(tab)
        at = tab.rows[row], tab.columns[column]
        self.touched.append((tab.id, at[0]))
        if cell is None:
            tab.cells.pop(at, None)
        else:
            tab.cells[at] = cell

    def grow(self, tab: Tab, dimension: Dimension, index: int, count: int) -> None:
        """Inserts lines, as long as the workbook can hold them."""
        _check_protection(tab)
        more = count * len(tab.columns if dimension == "ROWS" else tab.rows)
        if sum(len(each.rows) * len(each.columns) for each in self.tabs.values()) + more > CELLS_MOST:
            fail(
                "This action would increase the number of cells in the workbook above the limit of"
                f" {CELLS_MOST} cells."
            )
        tab.insert(dimension, index, count)

    def area(self, text: Any) -> Area:
        """Reads A1 notation. A range that begins outside the grid is refused; one that ends there is cut at the edge."""
        if not isinstance(text, str) or not text:
            fail("Unable to parse range: ")
        quoted = re.fullmatch(r"'((?:[^']|'')*)'(?:!(.*))?", text)
        title, rest = quoted.groups() if quoted else (text.split("!", 1) if "!" in text else (None, text))
        tab = self.titled(title.replace("''", "'")) if title is not None else self.titled(text)
        if tab is not None and (title is None or rest is None):
            return Area(tab, 0, 0, len(tab.rows), len(tab.columns))
        if title is None:
            tab = next(iter(self.tabs.values()))
        found = _A1.fullmatch(rest or "")
        if tab is None or found is None:
            fail(f"Unable to parse range: {text}")
        is_range = ":" in (rest or "")
        left, top, right, bottom = found.groups()
        if is_range and (not (left or top) or not (right or bottom)):
            fail(f"Unable to parse range: {text}")
        if not is_range:
            if not left or not top:
                fail(f"Unable to parse range: {text}")
            right, bottom = left, top
        # An open side reaches to the edge, whichever end leaves it open.
        sides = [_index(each) for each in (left, right) if each]
        ends = [int(each) - 1 for each in (top, bottom) if each]
        area = Area(
            tab,
            min(ends, default=0),
            min(sides, default=0),
            max(ends) + 1 if len(ends) == 2 else len(tab.rows),
            max(sides) + 1 if len(sides) == 2 else len(tab.columns),
            is_cell=not is_range,
        )
        return self._inside(area)

    def grid_area(self, grid: Any, at: str) -> Area:
        """Reads a GridRange: indexes from 0, ends exclusive, a missing one means the edge."""
        names = ("sheetId", "startRowIndex", "endRowIndex", "startColumnIndex", "endColumnIndex")
        grid = _object(grid, names, at)
        tab = self.tab(grid.get("sheetId"))
        area = Area(
            tab,
            _int(grid.get("startRowIndex", 0), at),
            _int(grid.get("startColumnIndex", 0), at),
            _int(grid.get("endRowIndex", len(tab.rows)), at),
            _int(grid.get("endColumnIndex", len(tab.columns)), at),
        )
        if area.top >= area.bottom or area.left >= area.right:
            fail("The range is empty")
        return self._inside(area)

    def _inside(self, area: Area) -> Area:
        rows, columns = len(area.tab.rows), len(area.tab.columns)
        if area.top >= rows or area.left >= columns:
            fail(f"Range ({area.name}) exceeds grid limits. Max rows: {rows}, max columns: {columns}")
        return replace(area, bottom=min(area.bottom, rows), right=min(area.right, columns))

    def placed(self, tag: Tag) -> Area | None:
        """The cells that the metadata's place covers; None for the spreadsheet itself."""
        if tag.place.kind == "SPREADSHEET":
            return None
        tab = self.tabs[tag.place.tab]
        whole = Area(tab, 0, 0, len(tab.rows), len(tab.columns))
        match tag.place.kind:
            case "ROW":
                index = tab.rows.index(tag.place.line)
                return replace(whole, top=index, bottom=index + 1)
            case "COLUMN":
                index = tab.columns.index(tag.place.line)
                return replace(whole, left=index, right=index + 1)
            case _:
                return whole

    def told(self, tag: Tag) -> Record:
        """Metadata as the vendor shows it, with the place where it hangs now."""
        location: Record = {"locationType": tag.place.kind}
        match tag.place:
            case Place("SPREADSHEET"):
                location["spreadsheet"] = True
            case Place("SHEET", tab):
                location["sheetId"] = tab
            case Place(kind, tab, line):
                dimension: Dimension = "ROWS" if kind == "ROW" else "COLUMNS"
                index = self.tabs[tab].lines(dimension).index(line)
                location["dimensionRange"] = {
                    "sheetId": tab,
                    "dimension": dimension,
                    "startIndex": index,
                    "endIndex": index + 1,
                }
        told: Record = {"metadataId": tag.id, "metadataKey": tag.key}
        if tag.value:
            told["metadataValue"] = tag.value
        return told | {"location": location, "visibility": tag.visibility}


def _check_protection(tab: Tab) -> None:
    if tab.protection == "theirs":
        fail(
            "You are trying to edit a protected cell or object. Please contact the spreadsheet owner to remove"
            " protection if you need to edit."
        )


def fail(message: str, status: int = 400) -> NoReturn:
    """Ends the call with the vendor's JSON error."""
    raise RefusalError(_error(status, message))


class GoogleSheets(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "google-sheets"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        book = "/v4/spreadsheets/{id}"
        values = f"{book}/values"
        self._routes = (
            Route("POST", "/token", "token", self._token, is_open=True),
            Route("GET", book, "get_spreadsheet", self._get_spreadsheet),
            Route("POST", f"{book}:batchUpdate", "batch_update", self._batch_update),
            Route("GET", f"{values}:batchGet", "batch_get_values", self._batch_get_values),
            Route("POST", f"{values}:batchUpdate", "batch_update_values", self._batch_update_values),
            Route("POST", f"{values}:batchGetByDataFilter", "batch_get_by_data_filter", self._get_by_filter),
            Route(
                "POST",
                f"{values}:batchUpdateByDataFilter",
                "batch_update_by_data_filter",
                self._update_by_filter,
            ),
            Route("GET", f"{values}/{{range}}", "get_values", self._get_values),
            Route("PUT", f"{values}/{{range}}", "update_values", self._update_values),
            Route("POST", f"{values}/{{range}}:append", "append_values", self._append_values),
            Route("POST", f"{book}/developerMetadata:search", "search_metadata", self._search_metadata),
            Route("GET", f"{book}/developerMetadata/{{metadata}}", "get_metadata", self._get_metadata),
        )
        self._requests: Mapping[str, tuple[tuple[str, ...], Callable[[Workbook, Record], Record]]] = {
            "insertDimension": (("range", "inheritFromBefore"), self._insert_dimension),
            "appendDimension": (("sheetId", "dimension", "length"), _append_dimension),
            "updateCells": (("rows", "fields", "start", "range"), _update_cells),
            "appendCells": (("sheetId", "rows", "fields"), _append_cells),
            "createDeveloperMetadata": (("developerMetadata",), self._create_metadata),
            "deleteDeveloperMetadata": (("dataFilter",), _delete_metadata),
        }

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.workbooks: dict[str, Workbook] = {}
        self.is_key_deleted = False
        self._tokens: dict[str, tuple[frozenset[str], datetime]] = {}
        self._recent: dict[str, deque[datetime]] = {"read": deque(), "write": deque()}
        sheets = [{"title": SHEET, "sheetId": 0, "rows": [HEADER]}]
        self._add_workbook({"id": SPREADSHEET_ID, "title": "Practice cancellations", "sheets": sheets})

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            made = [self._add_workbook(each) for each in data.get("spreadsheets", ())]
        except (KeyError, TypeError, RefusalError) as wrong:
            raise ValueError(f"cannot seed google-sheets: {wrong!r}") from wrong
        return {
            "spreadsheets": [
                {"id": each.id, "sheets": {tab.title: tab.id for tab in each.tabs.values()}} for each in made
            ]
        }

    def _add_workbook(self, described: Record) -> Workbook:
        book = Workbook(
            described["id"],
            described.get("title", "Untitled spreadsheet"),
            described.get("sharing", "writer"),
            described.get("is_app_made", False),
        )
        if book.sharing not in _SHARINGS:
            raise ValueError(f"a spreadsheet is shared as {', '.join(_SHARINGS)}, not {book.sharing!r}")
        for index, each in enumerate(described.get("sheets", [{"title": SHEET}])):
            tab = Tab(each.get("sheetId", index), each["title"], each.get("protection", "none"))
            if tab.protection not in _PROTECTIONS:
                raise ValueError(f"a tab's protection is {', '.join(_PROTECTIONS)}, not {tab.protection!r}")
            tab.insert("ROWS", 0, each.get("rowCount", 1_000))
            tab.insert("COLUMNS", 0, each.get("columnCount", 26))
            book.tabs[tab.id] = tab
            for row, values in enumerate(each.get("rows", ())):
                for column, value in enumerate(values):
                    if (cell := _entered(value, "RAW", f"{row}][{column}")) is not None:
                        tab.cells[tab.rows[row], tab.columns[column]] = cell
        self.workbooks[book.id] = book
        return book

    def grid(self, sheet: str = SHEET, spreadsheet: str = SPREADSHEET_ID) -> list[list[Any]]:
        """What a tab holds, row by row, without the blanks at its end: what a person would see."""
        tab = self._tab_of({"spreadsheet": spreadsheet, "sheet": sheet})
        return [tab.content(line) for line in tab.rows[: tab.height()]]

    # ------------------------------------------------------------ people at the spreadsheet

    def settle(self, data: Record) -> Record:
        match data:
            case {"tokens": "expired"}:
                count = len(self._tokens)
                self._tokens.clear()
                return {"tokens": count}
            case {"key": "deleted"}:
                self.is_key_deleted = True
                return {"key": PRIVATE_KEY_ID}
            case {"sharing": str(sharing)} if sharing in _SHARINGS:
                self._workbook_of(data).sharing = sharing
                return {"sharing": sharing}
        tab = self._tab_of(data)
        match data:
            case {"rename": str(title)} if title:
                tab.title = title
            case {"protection": str(protection)} if protection in _PROTECTIONS:
                tab.protection = protection
            case _ if tab.protection == "ours":
                raise ValueError(f"{tab.title!r} is protected: nobody works in it by hand")
            case {"sort": str(column)} if 0 <= _index(column) < len(tab.columns):
                self._sort(tab, _index(column), data.get("from_row", 2) - 1, data.get("descending", False))
            case {"insert_rows": {"at": int(at)}} if 0 < at <= len(tab.rows):
                tab.insert("ROWS", at - 1, data["insert_rows"].get("count", 1))
            case {"delete_rows": {"at": int(at)}} if 0 < at <= len(tab.rows):
                count = data["delete_rows"].get("count", 1)
                self._delete_rows(tab, tab.rows[at - 1 : at - 1 + count], data)
            case {"move_row": {"from": int(here), "to": int(there)}} if min(here, there) > 0 and max(
                here, there
            ) <= len(tab.rows):
                tab.rows.insert(there - 1, tab.rows.pop(here - 1))
            case {"edit": {"range": str(text), "values": [*rows]}}:
                self._edit(self._workbook_of(data), text, rows)
            case _:
                raise ValueError(
                    "google-sheets settles sort, insert_rows, delete_rows, move_row, edit, rename, protection,"
                    " sharing, tokens or key"
                )
        return {"sheet": tab.title, "rows": tab.height()}

    def _workbook_of(self, data: Record) -> Workbook:
        key = data.get("spreadsheet", SPREADSHEET_ID)
        if key not in self.workbooks:
            raise NoSuchObjectError(f"google-sheets has no spreadsheet {key!r}")
        return self.workbooks[key]

    def _tab_of(self, data: Record) -> Tab:
        title = data.get("sheet", SHEET)
        tab = self._workbook_of(data).titled(title)
        if tab is None:
            raise NoSuchObjectError(f"the spreadsheet has no sheet {title!r}")
        return tab

    def _sort(self, tab: Tab, column: int, first: int, is_descending: bool) -> None:
        """Sorts as people do: numbers before texts, blank rows stay at the end."""
        held = tab.rows[first : tab.height()]

        def key(line: int) -> tuple[int, Any]:
            cell = tab.cells[line, tab.columns[column]]
            return (1, str(cell.value).casefold()) if isinstance(cell.value, str) else (0, cell.value)

        blank = [line for line in held if (line, tab.columns[column]) not in tab.cells]
        ordered = sorted((line for line in held if line not in blank), key=key, reverse=is_descending) + blank
        if self.habits.sort_moves_metadata:
            tab.rows[first : first + len(held)] = ordered
            return
        target = dict(zip(ordered, held, strict=True))
        tab.cells = {(target.get(row, row), at): cell for (row, at), cell in tab.cells.items()}

    def _delete_rows(self, tab: Tab, lines: Sequence[int], data: Record) -> None:
        tab.rows = [line for line in tab.rows if line not in lines]
        tab.cells = {at: cell for at, cell in tab.cells.items() if at[0] not in lines}
        book = self._workbook_of(data)
        gone = [Place("ROW", tab.id, line) for line in lines]
        book.tags = {key: tag for key, tag in book.tags.items() if tag.place not in gone}

    def _edit(self, book: Workbook, text: str, rows: Sequence[Any]) -> None:
        draft = book.draft()
        try:
            area = draft.area(text)
            # What keeps us out does not keep people out.
            kept, area.tab.protection = area.tab.protection, "none"
            _place_values(draft, area, _rows_of({"values": rows}), "USER_ENTERED")
        except RefusalError as refused:
            raise ValueError(f"cannot edit {text}: {refused.answer.body['error']['message']}") from refused
        area.tab.protection = kept
        self.workbooks[book.id] = draft

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """A live bearer token with a scope for the method. An API key alone reads public files only, and writes nothing."""
        if not call.headers.get("authorization", "").lower().startswith("bearer "):
            if not any(name == "key" for name, _ in call.query_pairs):
                return _error(
                    403,
                    "Method doesn't allow unregistered callers (callers without established identity). Please"
                    " use API Key or other form of API consumer identity to call this API.",
                )
            if call.operation in _QUOTA_READS:
                return _error(403, "The caller does not have permission")
            return _error(401, "API keys are not supported by this API. Expected OAuth2 access token.")
        scopes = self._scopes(call)
        if not scopes:
            return self.unauthorised(call)
        needed = READ_SCOPES if call.operation in _READS else WRITE_SCOPES
        if call.operation != "unknown" and not scopes & needed:
            asked = {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{SCOPE}"'}
            message = "Request had insufficient authentication scopes."
            return _error(403, message, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", headers=asked)
        return None

    def unauthorised(self, call: Call) -> Answer:
        if call.operation == "token":
            return _grant_refusal("invalid_grant", "Invalid JWT Signature.")
        return _error(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or"
            " other valid authentication credential.",
            headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
        )

    def refuse(self, call: Call) -> Answer:
        """The error that the fault's `code` names; the token endpoint has its own words."""
        code = call.fault.code if call.fault is not None else ""
        if call.operation == "token":
            return _grant_refusal(code or "invalid_grant", "Bad Request")
        status, message, reason = REFUSALS[code or "PERMISSION_DENIED"]
        answer = _error(status, message, reason)
        if code == "rateLimitExceeded":
            # The older form of a quota error, which comes as a 403.
            answer.body["error"]["errors"] = [
                {"message": message, "domain": "usageLimits", "reason": "rateLimitExceeded"}
            ]
        return answer

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        page = "<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title>"
        return Answer(404, page, content_type="text/html; charset=UTF-8")

    def failure(self, call: Call, status: int) -> Any:
        if call.operation == "token":
            return {"error": "internal_failure" if status >= 500 else "rate_limit_exceeded"}
        if status == 429:
            return _quota_error("read" if call.operation in _QUOTA_READS else "write").body
        messages = {503: "The service is currently unavailable.", 504: "Deadline expired."}
        return _error(status, messages.get(status, "Internal error encountered.")).body

    def begin(self, call: Call) -> Answer | None:
        """Quota, then names in the query and the field mask: all of it before anything is done."""
        if call.operation in ("token", "unknown"):
            return None
        kind = "read" if call.operation in _QUOTA_READS else "write"
        most = self.habits.reads_per_minute if kind == "read" else self.habits.writes_per_minute
        now, recent = self.world.clock(), self._recent[kind]
        while recent and recent[0] <= now - timedelta(minutes=1):
            recent.popleft()
        if most and len(recent) >= most:
            return _quota_error(kind)
        if most:
            recent.append(now)
        known = (*_EVERYWHERE, *_QUERY.get(call.operation, ()))
        for name, value in call.query_pairs:
            if name not in known:
                fail(
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                    f" Field '{name}' could not be found in request message."
                )
            if name == "fields":
                _read_mask(value, _SPREADSHEET if call.operation == "get_spreadsheet" else None)
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Leaves of a good answer what the field mask asks for."""
        mask = dict(call.query_pairs).get("fields")
        if (
            mask is None
            or call.operation in ("token", "unknown")
            or answer.status != 200
            or not isinstance(answer.body, dict)
        ):
            return answer
        return replace(answer, body=_pick(answer.body, _read_mask(mask)))

    def _token(self, call: Call) -> Answer:
        """Changes a signed assertion for an access token."""
        form = dict(call.form_pairs) if call.content_type == _FORM else {}
        for name in ("grant_type", "assertion"):
            if not form.get(name):
                return _grant_refusal("invalid_request", f"Required parameter is missing: {name}")
        if form["grant_type"] != GRANT_TYPE:
            return _grant_refusal("unsupported_grant_type", f"Invalid grant_type: {form['grant_type']}")
        claims = self._read_assertion(form["assertion"], call)
        scopes = frozenset(str(claims.get("scope") or "").split())
        if not scopes:
            return _grant_refusal("invalid_scope", "Empty or missing scope not allowed.")
        if not all(scope.startswith("https://www.googleapis.com/auth/") for scope in scopes):
            return _grant_refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        value = self.mint("ya29.practice.", 48)
        self._tokens[value] = scopes, self.world.clock() + timedelta(seconds=TOKEN_LIFE_S)
        return _answer({"access_token": value, "expires_in": TOKEN_LIFE_S - 1, "token_type": "Bearer"})

    def _read_assertion(self, assertion: str, call: Call) -> Record:
        """The claims of an assertion that holds. Ends the call where it does not."""
        try:
            head, payload, signature = assertion.split(".")
            header, claims = json.loads(_base64(head)), json.loads(_base64(payload))
            if not isinstance(header, dict) or not isinstance(claims, dict):
                raise ValueError("header and claims are objects")
            signed = _base64(signature)
        except (ValueError, binascii.Error):
            raise RefusalError(_grant_refusal("invalid_grant", "Bad Request")) from None
        if claims.get("iss") != CLIENT_EMAIL:
            raise RefusalError(_grant_refusal("invalid_grant", "Invalid grant: account not found"))
        is_ours = header.get("alg") == "RS256" and header.get("kid", PRIVATE_KEY_ID) == PRIVATE_KEY_ID
        if not is_ours or self.is_key_deleted or not _is_signed(f"{head}.{payload}", signed):
            raise RefusalError(_grant_refusal("invalid_grant", "Invalid JWT Signature."))
        if not self._is_for_us(claims.get("aud"), call):
            raise RefusalError(_grant_refusal("invalid_grant", "Invalid JWT: Failed audience check."))
        issued: Any = claims.get("iat")
        expires: Any = claims.get("exp")
        # The caller's clock does not run ahead with ours.
        now = (self.world.clock() - self.world.ahead).timestamp()
        is_dated = isinstance(issued, int) and isinstance(expires, int)
        if not is_dated or issued > now + SKEW_S or not now < expires <= issued + TOKEN_LIFE_S:
            raise RefusalError(
                _grant_refusal(
                    "invalid_grant",
                    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable"
                    " timeframe. Check your iat and exp values in the JWT claim.",
                )
            )
        if claims.get("sub", CLIENT_EMAIL) != CLIENT_EMAIL:
            message = "Client is unauthorized to retrieve access tokens using this method."
            raise RefusalError(replace(_grant_refusal("unauthorized_client", message), status=401))
        return claims

    def _is_for_us(self, audience: Any, call: Call) -> bool:
        """The vendor's own address, or this one as it was called, for callers that take it from their `token_uri`."""
        if not isinstance(audience, str):
            return False
        parts = urlsplit(audience)
        here = parts.netloc == call.headers.get("host") and parts.path == f"/{self.name}/token"
        return here or audience in _AUDIENCES

    # ------------------------------------------------------------ opening and keeping

    def _open(self, call: Call) -> Workbook:
        """The spreadsheet to read from. Ends the call where it is not there or not shared."""
        book = self.workbooks.get(call.ids["id"])
        if book is None:
            fail("Requested entity was not found.", 404)
        if not book.is_app_made and not self._scopes(call) - {DRIVE_FILE}:
            fail("Requested entity was not found.", 404)
        if book.sharing == "none":
            fail("The caller does not have permission", 403)
        return book

    def _scopes(self, call: Call) -> frozenset[str]:
        """What the call's token opens; nothing where it is none, or no more."""
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        scopes, expires = self._tokens.get(value.strip(), (frozenset(), self.world.clock()))
        return scopes if scheme.lower() == "bearer" and expires > self.world.clock() else frozenset()

    def _draft(self, call: Call) -> Workbook:
        """A copy to write in: it takes the old one's place only when all went well."""
        book = self._open(call)
        if book.sharing != "writer":
            fail("The caller does not have permission", 403)
        return book.draft()

    def _keep(self, draft: Workbook, via: str) -> None:
        """Puts the draft in place, and writes what it changed into the book."""
        old = self.workbooks[draft.id]
        self.workbooks[draft.id] = draft
        for grown in draft.grown:
            target = {"spreadsheet": draft.id, **grown}
            self.book.write("grow_sheet", id=grown["sheet"], target=target, via=via)
        for tab_id, line in dict.fromkeys(draft.touched):
            tab = draft.tabs[tab_id]
            before, after = old.tabs[tab_id].content(line), tab.content(line)
            if before == after:
                continue
            row = tab.rows.index(line)
            self.book.write(
                "add_row" if not before else "update_row" if after else "clear_row",
                id=tab.spell(row, 0, row + 1, len(after or before)),
                target={"spreadsheet": draft.id, "sheet": tab.title, "row": row + 1},
                reference=(after or before)[0] or None,
                values=after,
                via=via,
            )
        for tag in (tag for key, tag in old.tags.items() if key not in draft.tags):
            self.book.write(
                "delete_metadata",
                id=str(tag.id),
                target={"spreadsheet": draft.id},
                reference=tag.value or None,
                key=tag.key,
                via=via,
            )
        for tag in (tag for key, tag in draft.tags.items() if key not in old.tags):
            told = draft.told(tag)
            self.book.write(
                "create_metadata",
                id=str(tag.id),
                target={"spreadsheet": draft.id, **told["location"]},
                reference=tag.value or None,
                key=tag.key,
                via=via,
            )

    # ------------------------------------------------------------ reading

    def _get_spreadsheet(self, call: Call) -> Answer:
        book = self._open(call)
        shown = [book.area(text).tab.id for name, text in call.query_pairs if name == "ranges"]
        sheets = [
            {"properties": _properties(tab, index)} | _tags_at(book, Place("SHEET", tab.id))
            for index, tab in enumerate(book.tabs.values())
            if not shown or tab.id in shown
        ]
        return _answer(
            {
                "spreadsheetId": book.id,
                "properties": {
                    "title": book.title,
                    "locale": "en_GB",
                    "autoRecalc": "ON_CHANGE",
                    "timeZone": "Etc/GMT",
                },
                "sheets": sheets,
                "spreadsheetUrl": f"https://docs.google.com/spreadsheets/d/{book.id}/edit",
            }
            | _tags_at(book, Place("SPREADSHEET"))
        )

    def _get_values(self, call: Call) -> Answer:
        view = View.read(dict(call.query_pairs))
        return _answer(view.show(self._open(call).area(call.ids["range"])))

    def _batch_get_values(self, call: Call) -> Answer:
        view, book = View.read(dict(call.query_pairs)), self._open(call)
        asked = [text for name, text in call.query_pairs if name == "ranges"]
        return _answer(
            {"spreadsheetId": book.id, "valueRanges": [view.show(book.area(text)) for text in asked]}
        )

    def _get_by_filter(self, call: Call) -> Answer:
        asked = _object(call.json, ("dataFilters", *_READING))
        view, book = View.read(asked), self._open(call)
        found: dict[str, tuple[Area, list[Record]]] = {}
        for each in _list(asked.get("dataFilters"), "data_filters"):
            for area in _areas(book, each):
                found.setdefault(area.name, (area, []))[1].append(each)
        ranges = [{"valueRange": view.show(area), "dataFilters": filters} for area, filters in found.values()]
        return _answer({"spreadsheetId": book.id} | ({"valueRanges": ranges} if ranges else {}))

    def _search_metadata(self, call: Call) -> Answer:
        asked = _object(call.json, ("dataFilters",))
        book = self._open(call)
        found: dict[int, list[Record]] = {}
        for each in _list(asked.get("dataFilters"), "data_filters"):
            for tag in _tags(book, each):
                found.setdefault(tag.id, []).append(each)
        matched = [
            {"developerMetadata": book.told(book.tags[key]), "dataFilters": filters}
            for key, filters in found.items()
        ]
        return _answer({"matchedDeveloperMetadata": matched} if matched else {})

    def _get_metadata(self, call: Call) -> Answer:
        text = call.ids["metadata"]
        if not re.fullmatch(r"-?\d+", text):
            fail(f"Invalid value at 'metadata_id' (TYPE_INT32), \"{text}\"")
        book = self._open(call)
        tag = book.tags.get(int(text))
        return _answer(book.told(tag)) if tag else fail("Requested entity was not found.", 404)

    # ------------------------------------------------------------ writing values

    def _update_values(self, call: Call) -> Answer:
        asked, query = _object(call.json, ("range", "majorDimension", "values")), dict(call.query_pairs)
        draft = self._draft(call)
        option, view = _writing(query)
        area = draft.area(call.ids["range"])
        _check_same(asked, call.ids["range"])
        update = _place_values(draft, area, _rows_of(asked), option)
        self._keep(draft, call.operation)
        return _answer(_told_update(update, view))

    def _append_values(self, call: Call) -> Answer:
        """Puts rows below the last table that the range meets; where it meets none, at the range's own beginning."""
        asked, query = _object(call.json, ("range", "majorDimension", "values")), dict(call.query_pairs)
        draft = self._draft(call)
        option, view = _writing(query)
        way = _choice(query, "insertDataOption", ("OVERWRITE", "INSERT_ROWS"), "OVERWRITE")
        area = draft.area(call.ids["range"])
        _check_same(asked, call.ids["range"])
        rows, tab = _rows_of(asked), area.tab
        table = _table_in(area)
        top, left = (table.bottom, table.left) if table else (area.top, area.left)
        if way == "INSERT_ROWS" and table is not None:
            draft.grow(tab, "ROWS", top, len(rows))
        elif (missing := top + len(rows) - len(tab.rows)) > 0:
            draft.grow(tab, "ROWS", len(tab.rows), missing)
        start = Area(tab, top, left, top + 1, left + 1, is_cell=True)
        update = _place_values(draft, start, rows, option)
        self._keep(draft, call.operation)
        found = {"tableRange": table.name} if table else {}
        return _answer({"spreadsheetId": draft.id} | found | {"updates": _told_update(update, view)})

    def _batch_update_values(self, call: Call) -> Answer:
        def areas(draft: Workbook, each: Record) -> list[Area]:
            return [draft.area(each.get("range"))]

        return self._write_all(call, "range", areas)

    def _update_by_filter(self, call: Call) -> Answer:
        def areas(draft: Workbook, each: Record) -> list[Area]:
            return _areas(draft, each.get("dataFilter"))

        return self._write_all(call, "dataFilter", areas)

    def _write_all(self, call: Call, where: str, areas: Callable[[Workbook, Record], list[Area]]) -> Answer:
        """Several ranges at once, all of them or none."""
        asked = _object(call.json, (*_WRITING, "data"))
        draft = self._draft(call)
        option, view = _writing(asked)
        updates: list[tuple[Record, Record]] = []
        for index, each in enumerate(_list(asked.get("data"), "data")):
            known = _object(each, (where, "majorDimension", "values"), f" at 'data[{index}]'")
            with _within(f"Invalid data[{index}]"):
                for area in areas(draft, known):
                    told = {} if where == "range" else {where: known[where]}
                    updates.append((_place_values(draft, area, _rows_of(known), option), told))
        self._keep(draft, call.operation)
        responses = [_told_update(update, view) | more for update, more in updates]
        totals = {
            f"totalU{name[1:]}": sum(each.get(name, 0) for each in responses)
            for name in ("updatedRows", "updatedColumns", "updatedCells")
        }
        sheets = len({update["area"].tab.id for update, _ in updates})
        return _answer(
            {"spreadsheetId": draft.id, **totals, "totalUpdatedSheets": sheets, "responses": responses}
        )

    # ------------------------------------------------------------ batches

    def _batch_update(self, call: Call) -> Answer:
        """Requests one after the other, in a copy: one that is refused takes all of them with it."""
        names = ("requests", "includeSpreadsheetInResponse", "responseRanges", "responseIncludeGridData")
        asked = _object(call.json, names)
        draft = self._draft(call)
        requests = _list(asked.get("requests"), "requests")
        if not requests:
            fail("Must specify at least one request.")
        replies = []
        for index, each in enumerate(requests):
            request = _object(each, tuple(self._requests), f" at 'requests[{index}]'")
            if len(request) != 1:
                fail(
                    f"Invalid requests[{index}]: {'No request set.' if not request else 'oneof is already set'}"
                )
            [(kind, body)] = request.items()
            known, carry_out = self._requests[kind]
            body = _object(body, known, f" at 'requests[{index}].{kind}'")
            with _within(f"Invalid requests[{index}].{kind}"):
                replies.append(carry_out(draft, body))
        self._keep(draft, call.operation)
        return _answer({"spreadsheetId": draft.id, "replies": replies})

    def _insert_dimension(self, draft: Workbook, body: Record) -> Record:
        tab, dimension, start, end = _dimension_range(draft, body.get("range"))
        size, is_after = len(tab.lines(dimension)), body.get("inheritFromBefore") is True
        if start > size:
            fail(f"range.startIndex is larger than current grid size ({size})")
        if start == size and not is_after:
            fail(f"range.startIndex must be less than the grid size ({size}) if inheritFromBefore is false.")
        if start == 0 and is_after:
            fail("inheritFromBefore cannot be true if range.startIndex is 0.")
        draft.grow(tab, dimension, start, end - start)
        draft.grown.append({"sheet": tab.title, "dimension": dimension, "at": start, "count": end - start})
        return {}

    def _create_metadata(self, draft: Workbook, body: Record) -> Record:
        names = ("metadataId", "metadataKey", "metadataValue", "location", "visibility")
        asked = _object(body.get("developerMetadata"), names)
        key, value = asked.get("metadataKey"), asked.get("metadataValue", "")
        if not isinstance(key, str) or not key or not isinstance(value, str):
            fail("Developer metadata must have a key specified.")
        if asked.get("visibility") not in _VISIBILITIES:
            fail("Developer metadata must have visibility specified.")
        place = _place(draft, asked.get("location"))
        number = _int(asked.get("metadataId", 0), "metadata_id")
        if number in draft.tags and self.habits.refuses_taken_id:
            fail(
                f"Cannot add developer metadata with ID [{number}] because developer metadata with that ID"
                " already exists."
            )
        while not number or number in draft.tags:
            number = random.randrange(1, 2**31)
        held = [tag for tag in draft.tags.values() if tag.place.tab == place.tab]
        chars = len(key) + len(value) + sum(len(tag.key) + len(tag.value) for tag in held)
        if chars > self.habits.metadata_chars_most:
            fail(
                "Adding this developer metadata would exceed the limit of"
                f" {self.habits.metadata_chars_most} characters."
            )
        draft.tags[number] = Tag(number, key, value, asked["visibility"], place)
        return {"createDeveloperMetadata": {"developerMetadata": draft.told(draft.tags[number])}}


def _append_dimension(draft: Workbook, body: Record) -> Record:
    tab, dimension = draft.tab(body.get("sheetId")), _dimension(body.get("dimension"))
    count = _int(body.get("length", 0), "length")
    if count < 1:
        fail("length must be greater than 0")
    size = len(tab.lines(dimension))
    draft.grow(tab, dimension, size, count)
    draft.grown.append({"sheet": tab.title, "dimension": dimension, "at": size, "count": count})
    return {}


def _update_cells(draft: Workbook, body: Record) -> Record:
    """Writes from a cell on, or into a range whose rest is then emptied."""
    _check_cell_mask(body.get("fields"))
    rows = _cell_rows(body.get("rows"))
    if ("start" in body) == ("range" in body):
        fail("One of start and range must be set.")
    if "start" in body:
        start = _object(body["start"], ("sheetId", "rowIndex", "columnIndex"))
        tab = draft.tab(start.get("sheetId"))
        top, left = (
            _int(start.get("rowIndex", 0), "row_index"),
            _int(start.get("columnIndex", 0), "column_index"),
        )
        bottom, right = top + len(rows), left + max(map(len, rows), default=0)
        if bottom > len(tab.rows) or right > len(tab.columns):
            fail(
                f"Range ({tab.spell(top, left, max(bottom, top + 1), max(right, left + 1))}) exceeds grid"
                f" limits. Max rows: {len(tab.rows)}, max columns: {len(tab.columns)}"
            )
    else:
        area = draft.grid_area(body["range"], " at 'range'")
        tab, top, left = area.tab, area.top, area.left
        height, width = area.bottom - top, area.right - left
        if len(rows) > height or any(len(row) > width for row in rows):
            fail("Attempting to write past the end of the range.")
        rows = [*rows, *([] for _ in range(height - len(rows)))]
        rows = [[*row, *[None] * (width - len(row))] for row in rows]
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            draft.put(tab, top + row, left + column, cell)
    return {}


def _append_cells(draft: Workbook, body: Record) -> Record:
    """Writes below the last row with anything in it, from the first column on; a full grid gets the rows it lacks."""
    _check_cell_mask(body.get("fields"))
    tab, rows = draft.tab(body.get("sheetId")), _cell_rows(body.get("rows"))
    top, width = tab.height(), max(map(len, rows), default=0)
    if width > len(tab.columns):
        fail(
            f"Range ({tab.spell(top, 0, top + 1, width)}) exceeds grid limits. Max rows: {len(tab.rows)},"
            f" max columns: {len(tab.columns)}"
        )
    if (missing := top + len(rows) - len(tab.rows)) > 0:
        draft.grow(tab, "ROWS", len(tab.rows), missing)
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            draft.put(tab, top + row, column, cell)
    return {}


def _delete_metadata(draft: Workbook, body: Record) -> Record:
    """Takes away what the filter selects; nothing where it selects nothing."""
    found = _tags(draft, body.get("dataFilter"))
    told = [draft.told(tag) for tag in found]
    for tag in found:
        del draft.tags[tag.id]
    return {"deleteDeveloperMetadata": {"deletedDeveloperMetadata": told} if told else {}}


# ---------------------------------------------------------------- values read and shown


@dataclass(frozen=True, slots=True)
class View:
    """How values are shown: by rows or by columns, as formatted, as they are, or as they were typed."""

    major: str = "ROWS"
    render: str = "FORMATTED_VALUE"
    dates: str = "SERIAL_NUMBER"

    @classmethod
    def read(cls, asked: Mapping[str, Any]) -> View:
        return cls(
            _choice(asked, "majorDimension", _DIMENSIONS, "ROWS"),
            _choice(
                asked,
                "valueRenderOption",
                ("FORMATTED_VALUE", "UNFORMATTED_VALUE", "FORMULA"),
                "FORMATTED_VALUE",
            ),
            _choice(asked, "dateTimeRenderOption", ("SERIAL_NUMBER", "FORMATTED_STRING"), "SERIAL_NUMBER"),
        )

    def show(self, area: Area) -> Record:
        """A ValueRange: the whole range by name, the values without blanks at their ends."""
        bottom = min(area.bottom, area.tab.height())
        rows = [
            [self._cell(area.tab.at(row, column)) for column in range(area.left, area.right)]
            for row in range(area.top, bottom)
        ]
        if self.major == "COLUMNS":
            rows = [list(column) for column in zip(*rows, strict=True)]
        shown = _trimmed([_trimmed(row) for row in rows])
        told: Record = {"range": area.name, "majorDimension": self.major}
        return told | ({"values": shown} if shown else {})

    def _cell(self, cell: Cell | None) -> Any:
        if cell is None:
            return ""
        if self.render == "FORMULA":
            return cell.formula or cell.value
        if cell.shown and (self.render == "FORMATTED_VALUE" or self.dates == "FORMATTED_STRING"):
            return cell.shown
        if self.render == "UNFORMATTED_VALUE" or isinstance(cell.value, str):
            return cell.value
        return str(cell.value).upper() if isinstance(cell.value, bool) else f"{cell.value:.15g}"


def _writing(asked: Mapping[str, Any]) -> tuple[str, View | None]:
    """How values are to be understood, and how the answer shows them (None: not at all)."""
    option = asked.get("valueInputOption")
    if option in (None, "INPUT_VALUE_OPTION_UNSPECIFIED"):
        fail("'valueInputOption' is required but not specified")
    option = _choice(asked, "valueInputOption", ("RAW", "USER_ENTERED"), "RAW")
    view = View.read(
        {
            "valueRenderOption": asked.get("responseValueRenderOption"),
            "dateTimeRenderOption": asked.get("responseDateTimeRenderOption"),
        }
    )
    return option, view if asked.get("includeValuesInResponse") in (True, "true") else None


def _rows_of(asked: Record) -> list[list[Any]]:
    """The values of a ValueRange by rows, whichever way they were sent."""
    major = _choice(asked, "majorDimension", _DIMENSIONS, "ROWS")
    lists = _list(asked.get("values"), "data.values")
    for index, each in enumerate(lists):
        if not isinstance(each, list):
            fail(f"Invalid value at 'data.values[{index}]' (type.googleapis.com/google.protobuf.ListValue)")
    if major == "ROWS":
        return lists
    height = max(map(len, lists), default=0)
    return [[each[row] if row < len(each) else None for each in lists] for row in range(height)]


def _place_values(draft: Workbook, area: Area, rows: Sequence[Sequence[Any]], option: str) -> Record:
    """Writes values from the area's corner on; null leaves a cell as it is. Returns counts, with `area` for what was written."""
    tab = area.tab
    bottom = len(tab.rows) if area.is_cell else area.bottom
    right = len(tab.columns) if area.is_cell else area.right
    written: set[tuple[int, int]] = set()
    for index, values in enumerate(rows):
        for offset, value in enumerate(values):
            row, column = area.top + index, area.left + offset
            cell = _entered(value, option, f"{index}][{offset}")
            if row >= bottom:
                fail(f"Requested writing within range [{area.name}], but tried writing to row [{row + 1}]")
            if column >= right:
                fail(
                    f"Requested writing within range [{area.name}], but tried writing to column"
                    f" [{_letters(column)}]"
                )
            if value is not None:
                draft.put(tab, row, column, cell)
                written.add((row, column))
    if written:
        height, width = len(rows), max(map(len, rows))
        area = replace(area, bottom=area.top + height, right=area.left + width)
    counts = {
        "updatedRows": len({row for row, _ in written}),
        "updatedColumns": len({column for _, column in written}),
        "updatedCells": len(written),
    }
    return {
        "area": area,
        "spreadsheetId": draft.id,
        **{name: count for name, count in counts.items() if count},
    }


def _told_update(update: Record, view: View | None) -> Record:
    """An UpdateValuesResponse."""
    area: Area = update["area"]
    told = {name: value for name, value in update.items() if name != "area"}
    told |= {"updatedRange": area.name}
    return told | ({"updatedData": view.show(area)} if view else {})


def _entered(value: Any, option: str, at: str) -> Cell | None:
    """What a value becomes in a cell. RAW keeps it; USER_ENTERED reads it as if a person had typed it."""
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | float):
        kind = "list_value" if isinstance(value, list) else "struct_value"
        fail(f"Invalid values[{at}]: {kind} {json.dumps(value)[:80]}")
    if not isinstance(value, str):
        # A number is an IEEE double in there: a long one loses its last digits.
        return Cell(float(value) if abs(value) > 2**53 else value)
    if len(value) > CELL_MOST:
        fail(f"Your input contains more than the maximum of {CELL_MOST} characters in a single cell.")
    if option == "RAW":
        return Cell(value)
    if value.startswith("="):
        return Cell("#N/A", formula=value)
    if value.upper() in ("TRUE", "FALSE"):
        return Cell(value.upper() == "TRUE")
    if _NUMBER.fullmatch(value):
        return Cell(float(value) if "." in value else int(value))
    if _DAY.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return Cell(value)
        days = moment.date() - date(1899, 12, 30)
        return Cell(
            days.days + (moment.hour * 60 + moment.minute) / 1_440 + moment.second / 86_400, shown=value
        )
    return Cell(value.removeprefix("'"))


def _cell_rows(rows: Any) -> list[list[Cell | None]]:
    """Reads RowData: each cell by what the caller says it is, never guessed."""
    read: list[list[Cell | None]] = []
    for row in _list(rows, "rows"):
        values = _list(_object(row, ("values",)).get("values"), "values")
        cells = [_object(each, ("userEnteredValue",)).get("userEnteredValue") for each in values]
        read.append([_cell(each) for each in cells])
    return read


def _cell(entered: Any) -> Cell | None:
    match entered:
        case None | {"stringValue": ""}:
            return None
        case {"stringValue": str(value), **rest} if not rest:
            return _entered(value, "RAW", "")
        case {"boolValue": bool(value), **rest} if not rest:
            return Cell(value)
        case {"numberValue": int(value) | float(value), **rest} if not rest and not isinstance(value, bool):
            return Cell(value)
        case {"formulaValue": str(value), **rest} if not rest and value.startswith("="):
            return Cell("#N/A", formula=value)
        case _:
            fail(f"Invalid value at 'user_entered_value': {json.dumps(entered)[:80]}")


def _check_cell_mask(fields: Any) -> None:
    if not isinstance(fields, str) or not fields:
        fail("At least one field must be listed in 'fields'. (Use '*' to indicate all fields.)")
    for each in fields.split(","):
        if each not in ("*", "userEnteredValue"):
            fail(f"Invalid field: {each}")


def _table_in(area: Area) -> Area | None:
    """The last table that the range meets: cells with something in them that touch each other, corners too."""
    taken = area.tab.filled()
    inside = [at for at in taken if area.top <= at[0] < area.bottom and area.left <= at[1] < area.right]
    if not inside:
        return None
    table, edge = {max(inside)}, [max(inside)]
    while edge:
        row, column = edge.pop()
        for beside in ((row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)):
            if beside in taken and beside not in table:
                table.add(beside)
                edge.append(beside)
    rows, columns = [row for row, _ in table], [column for _, column in table]
    return Area(area.tab, min(rows), min(columns), max(rows) + 1, max(columns) + 1)


# ---------------------------------------------------------------- metadata and filters read


def _dimension(value: Any) -> Dimension:
    match value:
        case "ROWS":
            return "ROWS"
        case "COLUMNS":
            return "COLUMNS"
        case _:
            fail("No dimension specified.")


def _dimension_range(book: Workbook, value: Any) -> tuple[Tab, Dimension, int, int]:
    asked = _object(value, ("sheetId", "dimension", "startIndex", "endIndex"))
    tab, dimension = book.tab(asked.get("sheetId")), _dimension(asked.get("dimension"))
    start, end = _int(asked.get("startIndex", 0), "start_index"), _int(asked.get("endIndex", 0), "end_index")
    if start >= end:
        fail("The range must be bounded, and its endIndex must be greater than its startIndex.")
    return tab, dimension, start, end


def _place(book: Workbook, location: Any) -> Place:
    """Reads a DeveloperMetadataLocation: the spreadsheet, a sheet, or one row or column."""
    asked = _object(location, ("locationType", "spreadsheet", "sheetId", "dimensionRange"))
    asked = {name: value for name, value in asked.items() if name != "locationType"}
    match asked:
        case {"spreadsheet": True, **rest} if not rest:
            return Place("SPREADSHEET")
        case {"sheetId": number, **rest} if not rest:
            return Place("SHEET", book.tab(number).id)
        case {"dimensionRange": dict(span), **rest} if not rest:
            tab, dimension, start, end = _dimension_range(book, span)
            if end != start + 1:
                fail("The dimension range must represent a single row or column.")
            if start >= len(tab.lines(dimension)):
                fail(f"The dimension range is beyond the grid ({len(tab.lines(dimension))})")
            kind = "ROW" if dimension == "ROWS" else "COLUMN"
            return Place(kind, tab.id, tab.lines(dimension)[start])
        case _:
            fail("Developer metadata must have exactly one location specified.")


def _filter(value: Any) -> tuple[str, Any]:
    """A DataFilter as its kind and what it says."""
    asked = _object(value, ("developerMetadataLookup", "a1Range", "gridRange"), " at 'data_filters'")
    if len(asked) != 1:
        fail("Exactly one filter must be set.")
    return next(iter(asked.items()))


def _tags(book: Workbook, value: Any) -> list[Tag]:
    """The metadata that a filter selects."""
    kind, asked = _filter(value)
    if kind == "developerMetadataLookup":
        return _looked_up(book, asked)
    area = book.area(asked) if kind == "a1Range" else book.grid_area(asked, " at 'grid_range'")
    return [
        tag
        for tag in book.tags.values()
        if (at := book.placed(tag)) is not None
        and at.tab is area.tab
        and max(at.top, area.top) < min(at.bottom, area.bottom)
        and max(at.left, area.left) < min(at.right, area.right)
    ]


def _areas(book: Workbook, value: Any) -> list[Area]:
    """The cells that a filter selects."""
    kind, asked = _filter(value)
    if kind == "developerMetadataLookup":
        return [area for tag in _looked_up(book, asked) if (area := book.placed(tag)) is not None]
    return [book.area(asked) if kind == "a1Range" else book.grid_area(asked, " at 'grid_range'")]


def _looked_up(book: Workbook, value: Any) -> list[Tag]:
    """What fits all that a lookup says; looking by location is not practised."""
    names = ("metadataId", "metadataKey", "metadataValue", "visibility", "locationType")
    asked = _object(value, names)

    def fits(tag: Tag) -> bool:
        has = (tag.id, tag.key, tag.value, tag.visibility, tag.place.kind)
        return all(asked.get(name, each) == each for name, each in zip(names, has, strict=True))

    return [tag for tag in book.tags.values() if fits(tag)]


def _tags_at(book: Workbook, place: Place) -> Record:
    told = [book.told(tag) for tag in book.tags.values() if tag.place == place]
    return {"developerMetadata": told} if told else {}


# ---------------------------------------------------------------- requests read


def _object(value: Any, names: Collection[str], at: str = "") -> Record:
    """A JSON object with no other names in it than these."""
    if not isinstance(value, dict):
        fail(f"Invalid JSON payload received. An object is expected{at}.")
    for name in value:
        if name not in names:
            fail(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')
    return value


def _list(value: Any, at: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        fail(f"Invalid value at '{at}': a list is expected")
    return value or []


def _int(value: Any, at: str) -> int:
    """A number from 0 on: every number in this API is an index, a count or an id."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        fail(f"Invalid value at '{at.strip()}' (TYPE_INT32), {json.dumps(value)}")
    return value


def _choice(asked: Mapping[str, Any], name: str, choices: Sequence[str], default: str) -> str:
    value = asked.get(name)
    if value is None:
        return default
    if value not in choices:
        snake = re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)
        fail(f"Invalid value at '{snake}', {json.dumps(value)}")
    return str(value)


def _check_same(asked: Record, text: str) -> None:
    if asked.get("range", text) != text:
        fail(f"Request range[{text}] does not match value's range[{asked['range']}]")


def _read_mask(text: str, known: Mask | None = None) -> Mask:
    """Reads a field mask such as `sheets(properties(sheetId,title))`. Ends the call for a name that is not in `known`."""
    mask: Mask = {}
    here, known_here = mask, known
    stack: list[tuple[Mask, Mask | None]] = [(mask, known)]
    for token in re.findall(r"\w+|.", text):
        match token:
            case ",":
                here, known_here = stack[-1]
            case "(":
                stack.append((here, known_here))
            case ")" if len(stack) > 1:
                stack.pop()
            case "." | "/":
                pass
            case "*":
                here["*"] = {}
            case _ if token.isidentifier() and (known_here is None or token in known_here):
                here = here.setdefault(token, {})
                known_here = known_here[token] if known_here is not None else None
            case _:
                raise RefusalError(_mask_error(token))
    if len(stack) != 1 or not mask:
        raise RefusalError(_mask_error(text))
    return mask


def _mask_error(path: str) -> Answer:
    answer = _error(400, "Request contains an invalid argument.")
    told = f"Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
    answer.body["error"]["details"] = [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": path, "description": told}],
        }
    ]
    return answer


def _pick(value: Any, mask: Mask) -> Any:
    if not mask or "*" in mask:
        return value
    if isinstance(value, list):
        return [_pick(each, mask) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _pick(each, mask[name]) for name, each in value.items() if name in mask}


def _index(letters: str) -> int:
    """A column's index: A is 0, AA is 26."""
    return functools.reduce(lambda found, each: found * 26 + ord(each) - 64, letters.upper(), 0) - 1


def _letters(index: int) -> str:
    return (_letters(index // 26 - 1) if index >= 26 else "") + chr(65 + index % 26)


def _trimmed(values: list[Any]) -> list[Any]:
    while values and values[-1] in ("", []):
        values = values[:-1]
    return values


def _base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


@functools.cache
def _public_key() -> rsa.RSAPublicKey:
    key = load_pem_private_key(PRIVATE_KEY.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.public_key()


def _is_signed(signed: str, signature: bytes) -> bool:
    try:
        _public_key().verify(signature, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


# ---------------------------------------------------------------- answers written


def _answer(body: Record) -> Answer:
    return Answer(200, body, content_type=_JSON)


def _error(status: int, message: str, reason: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    error: Record = {"code": status, "message": message, "status": _STATUS.get(status, "INTERNAL")}
    if reason:
        error["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": {"service": "sheets.googleapis.com"},
            }
        ]
    return Answer(status, {"error": error}, headers or {}, _JSON)


def _quota_error(kind: str) -> Answer:
    """The vendor's 429, which does not say how long to wait."""
    title = kind.capitalize()
    answer = _error(
        429,
        f"Quota exceeded for quota metric '{title} requests' and limit '{title} requests per minute per user' of"
        " service 'sheets.googleapis.com' for consumer 'project_number:100000000001'.",
        "RATE_LIMIT_EXCEEDED",
    )
    answer.body["error"]["details"][0]["metadata"] |= {
        "quota_metric": f"sheets.googleapis.com/{kind}_requests",
        "quota_limit": f"{title}RequestsPerMinutePerUser",
        "consumer": "projects/100000000001",
    }
    return answer


def _grant_refusal(error: str, description: str) -> Answer:
    return Answer(400, {"error": error, "error_description": description}, content_type=_JSON)


@contextmanager
def _within(place: str) -> Iterator[None]:
    """Says in a refusal which part of a batch was meant."""
    try:
        yield
    except RefusalError as refused:
        message = refused.answer.body["error"]["message"]
        raise RefusalError(_error(refused.answer.status, f"{place}: {message}")) from None


def _properties(tab: Tab, index: int) -> Record:
    return {
        "sheetId": tab.id,
        "title": tab.title,
        "index": index,
        "sheetType": "GRID",
        "gridProperties": {"rowCount": len(tab.rows), "columnCount": len(tab.columns)},
    }
