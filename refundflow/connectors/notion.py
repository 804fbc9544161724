"""Notion: one row per case in a data source, for people to look at. Never a source of truth.

REST API, version 2025-09-03 by header, described by the vendor's OpenAPI in makenotion/notion-mcp-server 1d38420 and the types of
makenotion/notion-sdk-js 9060802 (read 2026-11-25). Bodies say `in_trash` only, so that 2026-03-11 is a change of the header alone.

Quirks
- A database holds one or more data sources, and rows live in these. People copy the database's id; with it alone, each act asks
  for the data source first.
- Nothing keeps a repeated call from acting twice. The row is found by our case id in a column of its own; its version, written
  in the same call as everything else, proves that a state was written. There is no compare-and-set: the version is looked at
  just before the write.
- A row can be read by its id at once, by a query perhaps some seconds later (no delay is published).
- Two rows of one case are ours where one user made both: the older stays, the newer goes to the trash, from which a person can
  take it back. Times are told in whole minutes, so ids decide within one.
- 404 means gone or not shared with the integration. Once the data source was read, a row that is not found is gone.
- A row in the trash can be read, not written; one that a person moved keeps its id and loses its columns.
- Texts are plain here (no markup, no mentions, no formulas), 2,000 UTF-16 units each, 100 of them in a list.
- A page's blocks can only be appended to, so the report goes into a column where there is one. Else each version is one block
  that begins with a line of its own, which is looked for first; the row's version is written after it.
- The vendor's description takes children of a new page for texts; they are blocks, as in its own SDK.
- A select makes an unknown option silently, a status refuses it, so the state's column is a select. An option has no comma.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import Any, ClassVar, Final
from urllib.parse import quote

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import KeepRecord
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire

_DOC: Final = "https://developers.notion.com/reference"

SPEC: Final = Spec(
    platform="notion",
    api_version="2025-09-03",
    base_url="https://api.notion.com",
    operations={
        Capability.KEEP_RECORD: Operation(
            "POST /v1/pages, PATCH /v1/pages/{page_id}", Idempotency.LOOKUP, f"{_DOC}/post-page"
        ),
        Capability.CHECK: Operation(
            "GET /v1/data_sources/{data_source_id}", Idempotency.READ, f"{_DOC}/retrieve-a-data-source"
        ),
    },
    # Three calls a second on average by the older text, a budget per minute by the newer one. The burst is one whole act.
    rate_per_s=2.0,
    burst=9,
    redact=frozenset({"content", "plain_text"}),
    # An act is up to nine calls (database, data source, row, query, trash, blocks twice, append, write), mostly three: even all
    # of them at their limits end within a step's lease.
    connect_s=2.0,
    read_s=7.5,
)

#: A write whose answer was lost may still be running, and a query shows a new row late by a time that nobody publishes.
_SETTLED_S: Final = 120.0

_TEXT_UNITS: Final = 2_000
#: A request may hold 500 KB. What people read is far shorter than this.
_REPORT_TEXTS: Final = 40
_FIELD_TEXTS: Final = 5
_OPTION_CHARS: Final = 100
_URL_CHARS: Final = 2_000
_SHORT_CHARS: Final = 200

_ROWS: Final = 10
_BLOCKS: Final = 100
_MAX_BLOCK_PAGES: Final = 2

_ID: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
#: A number column shows a number anew: a leading zero would be lost, and a JSON double holds fifteen digits.
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,10})(\.[0-9]{1,4})?")
_DATE: Final = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d))?", re.ASCII
)

#: The types of column that a field can be written to, and how each of them is written empty.
_EMPTY: Final[Mapping[str, Any]] = {
    "rich_text": [],
    "number": None,
    "select": None,
    "date": None,
    "url": None,
    "email": None,
    "phone_number": None,
}

_GONE: Final = "record_gone"
_NOT_OURS: Final = "not_ours"
_AMBIGUOUS: Final = "ambiguous"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An internal integration. `token`: `ntn_…`, with the capabilities to read, insert and update content, and the database shared with it.

    `data_source_id`, or `database_id` as copied from the database's address, which costs a call more per act and needs
    `data_source_name` where the database has several. `…_property`: the names of the columns; `text_property`: a text column for the
    report, which goes into the page itself where there is none of that name.
    """

    token: Secret
    data_source_id: str = ""
    database_id: str = ""
    data_source_name: str = ""
    title_property: str = "Name"
    case_property: str = "RF case"
    version_property: str = "RF version"
    state_property: str = "State"
    text_property: str = "Report"
    base_url: str = SPEC.base_url

    def __post_init__(self) -> None:
        """Raises ValueError for settings that cannot work."""
        if not (self.data_source_id or self.database_id):
            raise ValueError("data_source_id or database_id is needed")
        for name in ("data_source_id", "database_id"):
            given = getattr(self, name)
            if given and not _ID.fullmatch(given):
                raise ValueError(
                    f"{name} is 32 hexadecimal digits, with or without hyphens, not {given!r:.60}"
                )
        names = [getattr(self, each.name) for each in fields(self) if each.name.endswith("_property")]
        if not all(names) or len(set(names)) < len(names):
            raise ValueError("each property needs a name of its own")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rows are: a data source by its id, or the one (of that name) in a database."""

    data_source_id: str = ""
    database_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of our own columns."""

    title: str = "Name"
    case: str = "RF case"
    version: str = "RF version"
    state: str = "State"
    report: str = "Report"

    @property
    def types(self) -> Mapping[str, str]:
        """What the data source must have: column and type."""
        return {self.title: "title", self.case: "rich_text", self.version: "number", self.state: "select"}


@dataclass(frozen=True, slots=True)
class Table:
    """A data source as it stands: the type of each column. `has_report`: there is a text column for the report."""

    data_source_id: str
    name: str
    types: Mapping[str, str]
    has_report: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A row as Notion tells it. `version`: -1 where it shows none; `created_time`: ISO 8601 in UTC, to the minute; `source`: the
    data source it is in, empty where it is in none.
    """

    page_id: str
    case_id: str
    version: int | Decimal
    created_time: str
    creator: str
    source: str
    is_gone: bool
    url: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look saw. `rows`: the case's, the older first; never more than two."""

    table: Table
    rows: tuple[()] | tuple[Row] | tuple[Row, Row]


def build(credentials: Credentials, wire: Wire) -> Notion:
    """The connector on a wire."""
    return Notion(
        wire.http(
            platform=SPEC.platform,
            base_url=credentials.base_url.rstrip("/"),
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            headers={
                "Authorization": f"Bearer {credentials.token.reveal()}",
                "Notion-Version": SPEC.api_version,
            },
            redact=SPEC.redact,
        ),
        Place(credentials.data_source_id, credentials.database_id, credentials.data_source_name),
        Columns(
            credentials.title_property,
            credentials.case_property,
            credentials.version_property,
            credentials.state_property,
            credentials.text_property,
        ),
    )


@dataclass(frozen=True, slots=True)
class Notion:
    """A data source through an integration's token."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    place: Place
    columns: Columns = field(default_factory=Columns)

    def check(self) -> Health:
        """Reads the data source's columns, and says what is missing."""
        match self._table():
            case Table(has_report=has_report) as table:
                where = f"in the column {self.columns.report!r}" if has_report else "in the page"
                return Health(
                    True, f"Notion data source {table.name!r} ({table.data_source_id}), the report {where}"
                )
            case trouble:
                return Health(False, trouble.reason)

    def keep_record(self, command: KeepRecord) -> Outcome:
        """Makes the case's row, or brings it to the command's state. A row that shows the version, or a higher one, is left alone.

        Retryable says that the row was not brought to this state; a newer twin may have been trashed, or the report appended, and
        both are seen by the next look.
        """
        match self._look(command):
            case Sight(table=table, rows=()):
                return read_written(
                    self.http.send(create_request(command, table, self.columns)), command, self.columns
                )
            case Sight(table=table, rows=(row,)):
                return self._bring(command, table, row)
            case Sight(table=table, rows=(row, twin)):
                if (trouble := read_trashed(self.http.send(trash_request(twin)), twin)) is not None:
                    return trouble
                return self._bring(command, table, row)
            case Unknown(reason=reason):
                return Retryable("unavailable", f"could not look before the write: {reason}")
            case trouble:
                return trouble

    def find_keep_record(self, command: KeepRecord) -> Found:
        """Whether the case's row shows the command's version. Absent columns or a lack of rights hide it, and prove nothing."""
        match self._look(command):
            case Sight(rows=()):
                return NotFound(_SETTLED_S, "no row carries the case's id")
            case Sight(rows=(row,)) if row.version == command.version:
                return Done(row.page_id, row.url)
            case Sight(rows=(row,)) if row.version > command.version:
                return superseded(row)
            case Sight(rows=(row,)):
                return NotFound(
                    _SETTLED_S, f"the row {row.page_id} does not show version {command.version} yet"
                )
            case Sight():
                return NotFound(
                    _SETTLED_S, "two rows carry the case's id, and the newer is to be trashed first"
                )
            case Permanent(code=code) as known if code in (_GONE, _NOT_OURS, _AMBIGUOUS):
                return known
            case trouble:
                return Unknown(f"could not look at the row: {trouble.reason}")

    def _look(self, command: KeepRecord) -> Sight | NoAnswer:
        """The case's rows: the one of the record's id, else what a query finds.

        A record that is gone is first looked for by its case: of two rows, the one whose id an earlier step was given may be
        the one that was trashed.
        """
        match self._table():
            case Table() as table:
                pass
            case trouble:
                return trouble
        if not command.record_id:
            return self._query(command, table)
        match read_record(self.http.send(record_request(command)), command, table, self.columns):
            case Row() as row:
                return Sight(table, (row,))
            case Permanent(code=code) as gone if code == _GONE:
                seen = self._query(command, table)
                return gone if isinstance(seen, Sight) and not seen.rows else seen
            case no:
                return no

    def _query(self, command: KeepRecord, table: Table) -> Sight | NoAnswer:
        request = query_request(command, table, self.columns)
        match read_rows(self.http.send(request), command, self.columns):
            case tuple() as rows:
                return Sight(table, rows)
            case trouble:
                return trouble

    def _table(self) -> Table | NoAnswer:
        data_source_id = self.place.data_source_id
        if not data_source_id:
            match read_database(self.http.send(database_request(self.place)), self.place):
                case str() as found:
                    data_source_id = found
                case trouble:
                    return trouble
        return read_table(self.http.send(table_request(data_source_id)), self.columns)

    def _bring(self, command: KeepRecord, table: Table, row: Row) -> Outcome:
        if row.version > command.version:
            return superseded(row)
        if row.version == command.version:
            return AlreadyDone(row.page_id, row.url)
        report = contents(command, table, self.columns)[1]
        if report and (trouble := self._append(command, row, report)) is not None:
            return trouble
        request = update_request(command, table, self.columns, row)
        return read_written(self.http.send(request), command, self.columns, row)

    def _append(self, command: KeepRecord, row: Row, report: str) -> NoAnswer | None:
        """Puts the report into the page, unless it is there; before the version, so that a row which shows it is complete."""
        cursor = ""
        for _ in range(_MAX_BLOCK_PAGES):
            match read_blocks(self.http.send(blocks_request(row, cursor)), command):
                case True:
                    return None
                case False:
                    return read_appended(self.http.send(append_request(command, row, report)))
                case str() as cursor:
                    continue
                case Unknown(reason=reason):
                    return Retryable("unavailable", f"could not look before the write: {reason}")
                case trouble:
                    return trouble
        return Permanent(
            "page_full",
            f"the page {row.page_id} has more than {_MAX_BLOCK_PAGES * _BLOCKS} blocks: give the data source a text column "
            f"named {self.columns.report!r} for the report",
        )


def superseded(row: Row) -> AlreadyDone:
    return AlreadyDone(row.page_id, f"left as it is: the row shows the newer version {row.version}")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def database_request(place: Place) -> Request:
    return Request("GET", f"/v1/databases/{place.database_id}", "notion.get_database")


def table_request(data_source_id: str) -> Request:
    return Request("GET", f"/v1/data_sources/{data_source_id}", "notion.get_data_source")


def record_request(command: KeepRecord) -> Request:
    return Request("GET", f"/v1/pages/{quote(command.record_id, safe='')}", "notion.get_record")


def query_request(command: KeepRecord, table: Table, columns: Columns) -> Request:
    return Request(
        "POST",
        f"/v1/data_sources/{table.data_source_id}/query",
        "notion.find_record",
        json={
            "filter": {"property": columns.case, "rich_text": {"equals": command.case_id}},
            "page_size": _ROWS,
        },
    )


def create_request(command: KeepRecord, table: Table, columns: Columns) -> Request:
    properties, report = contents(command, table, columns)
    return Request(
        "POST",
        "/v1/pages",
        "notion.keep_record",
        json={
            "parent": {"type": "data_source_id", "data_source_id": table.data_source_id},
            "properties": properties,
            **({"children": [block(command, report)]} if report else {}),
        },
    )


def update_request(command: KeepRecord, table: Table, columns: Columns, row: Row) -> Request:
    """The whole current state in one call: a late repeat cannot bring back half of an older one."""
    properties, _ = contents(command, table, columns)
    return Request("PATCH", f"/v1/pages/{row.page_id}", "notion.keep_record", json={"properties": properties})


def trash_request(row: Row) -> Request:
    return Request("PATCH", f"/v1/pages/{row.page_id}", "notion.trash_twin", json={"in_trash": True})


def blocks_request(row: Row, cursor: str) -> Request:
    return Request(
        "GET",
        f"/v1/blocks/{row.page_id}/children",
        "notion.get_blocks",
        params=(("page_size", str(_BLOCKS)), *((("start_cursor", cursor),) if cursor else ())),
    )


def append_request(command: KeepRecord, row: Row, report: str) -> Request:
    return Request(
        "PATCH",
        f"/v1/blocks/{row.page_id}/children",
        "notion.append_report",
        json={"children": [block(command, report)]},
    )


def contents(command: KeepRecord, table: Table, columns: Columns) -> tuple[dict[str, Any], str]:
    """The row's properties, and the report where it has no column.

    A field goes into the column of its name; where there is none, or the value does not fit its type, it is a line of the
    report, and the column is emptied: what an earlier version wrote there is no longer true.
    """
    properties: dict[str, Any] = {}
    own = {*columns.types, columns.report}
    lines = []
    for name, value in command.fields:
        kind = "" if name in own else table.types.get(name, "")
        fitted = fit(kind, value)
        if kind in _EMPTY:
            properties[name] = {kind: _EMPTY[kind] if fitted is None else fitted}
        if value and fitted is None:
            lines.append(f"{name}: {value}")
    report = "\n\n".join(part for part in (command.text, "\n".join(lines)) if part)
    properties |= {
        columns.title: {"title": rich_text(command.title, 1)},
        columns.case: {"rich_text": rich_text(command.case_id, 1)},
        columns.state: {"select": {"name": command.state}},
        columns.version: {"number": command.version},
    }
    if table.has_report:
        return {**properties, columns.report: {"rich_text": rich_text(report)}}, ""
    return properties, report


def fit(kind: str, value: str) -> Any:
    """A text as the value of a column of this type; None where it is none."""
    match kind:
        case "rich_text" if value:
            return rich_text(value, _FIELD_TEXTS)
        case "number" if _NUMBER.fullmatch(value):
            return Decimal(value)
        case "select" if value and "," not in value and units(value) <= _OPTION_CHARS:
            return {"name": value}
        case "date" if _DATE.fullmatch(value):
            return {"start": value}
        case "url" if value.startswith(("https://", "http://")) and units(value) <= _URL_CHARS:
            return value
        case "email" | "phone_number" if value and units(value) <= _SHORT_CHARS:
            return value
        case _:
            return None


def block(command: KeepRecord, report: str) -> dict[str, Any]:
    """One version's report as one block, so that it is there whole or not at all."""
    head = plain(f"{headline(command)} {command.state}\n")
    return {"type": "paragraph", "paragraph": {"rich_text": [head, *rich_text(report)]}}


def headline(command: KeepRecord) -> str:
    """How the block of this version begins."""
    return f"{command.case_id} · version {command.version} ·"


def plain(text: str) -> dict[str, Any]:
    return {"type": "text", "text": {"content": text}}


def rich_text(text: str, most: int = _REPORT_TEXTS) -> list[dict[str, Any]]:
    """A text in pieces that Notion takes, at most `most` of them; what is cut off is marked."""
    pieces = split(text)
    if len(pieces) > most:
        pieces = [*pieces[: most - 1], f"{pieces[most - 1][:-1]}…"]
    return [plain(piece) for piece in pieces]


def split(text: str) -> list[str]:
    """Pieces of at most 2,000 UTF-16 units, which is how Notion counts characters; no character is cut in two."""
    pieces, start, size = [], 0, 0
    for index, character in enumerate(text):
        width = units(character)
        if size + width > _TEXT_UNITS:
            pieces.append(text[start:index])
            start, size = index, 0
        size += width
    return [*pieces, text[start:]] if text else []


def units(text: str) -> int:
    """Its length in UTF-16."""
    return len(text) + sum(character > "\uffff" for character in text)


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_database(response: Response, place: Place) -> str | NoAnswer:
    """The id of the one data source, or of the one of the wanted name."""
    match response.status, response.json:
        case 200, {"object": "database", "data_sources": list(listed)}:
            sources = [(s["id"], s["name"]) for s in listed if is_source(s)]
            wanted = [ident for ident, name in sources if place.name in ("", name)]
            if len(sources) < len(listed):
                return Unknown("Notion's answer does not tell the database's data sources")
            if len(wanted) == 1:
                return str(wanted[0])
            there = ", ".join(f"{name!r} ({ident})" for ident, name in sources) or "none"
            return Permanent(
                "wrong_data_source",
                f"the database has {len(wanted)} data sources that may be meant (there are: {there}): set "
                "REFUNDFLOW_NOTION_DATA_SOURCE_ID",
            )
        case _:
            return trouble_of(response)


def is_source(source: Any) -> bool:
    match source:
        case {"id": str(ident), "name": str()}:
            return _ID.fullmatch(ident) is not None
        case _:
            return False


def read_table(response: Response, columns: Columns) -> Table | NoAnswer:
    """The columns, or what is wrong with them."""
    match response.status, response.json:
        case 200, {"object": "data_source", "id": str(ident), "properties": dict(properties), **rest}:
            types = {
                str(name): str(column.get("type"))
                for name, column in properties.items()
                if isinstance(column, dict)
            }
            wrong = [
                f"{name!r} of type {kind}" + (f" (it is {types[name]})" if name in types else "")
                for name, kind in columns.types.items()
                if types.get(name) != kind
            ]
            if wrong:
                return Permanent(
                    "wrong_columns",
                    f"the data source has no column {', '.join(wrong)}: make it so, or set REFUNDFLOW_NOTION_…_PROPERTY "
                    f"(there are: {', '.join(f'{name!r} ({kind})' for name, kind in types.items())})",
                )
            return Table(
                ident,
                text_of({"rich_text": rest.get("title")}),
                types,
                has_report=types.get(columns.report) == "rich_text",
            )
        case _:
            return trouble_of(response)


def read_rows(response: Response, command: KeepRecord, columns: Columns) -> tuple[Row, ...] | NoAnswer:
    """The case's rows, none, one or two, the older first. Of two, the second is a double of our own making."""
    match response.status, response.json:
        case 200, {"object": "list", "results": list(results), "has_more": bool(has_more), **rest}:
            read = [row for result in results if (row := read_row(result, columns)) is not None]
            same = [row for row in read if row.case_id == command.case_id and not row.is_gone]
            rows = tuple(sorted(same, key=lambda row: (row.created_time, row.page_id)))
            if len(rows) > 2:
                return several(command, rows, "there are more than two")
            if len(read) < len(results) or has_more or is_incomplete(rest):
                return Unknown("Notion does not show all rows of the case")
            if len(rows) == 2 and rows[0].creator != rows[1].creator:
                return several(command, rows, "they were not made by the same user")
            if len(rows) == 2 and rows[1].version > max(rows[0].version, command.version):
                return several(command, rows, "the newer one shows a later state than is known here")
            return rows
        case _:
            return trouble_of(response)


def is_incomplete(answer: object) -> bool:
    """Whether a query gave up before it had seen all rows."""
    match answer:
        case {"request_status": {"type": "incomplete"}}:
            return True
        case _:
            return False


def several(command: KeepRecord, rows: tuple[Row, ...], why: str) -> Permanent:
    names = ", ".join(row.page_id for row in rows)
    return Permanent(
        _AMBIGUOUS,
        f"several rows carry {command.case_id} ({names}), and {why}: leave one, and replay the step",
    )


def read_record(response: Response, command: KeepRecord, table: Table, columns: Columns) -> Row | NoAnswer:
    """The row that an earlier step left, where it is still the case's own."""
    match response.status, response.json:
        case 200, page if (row := read_row(page, columns)) is not None:
            if row.is_gone:
                return gone(command, "is in the trash")
            if not is_same(row.source, table.data_source_id):
                return gone(command, "was moved out of the data source")
            if row.case_id != command.case_id:
                return Permanent(
                    _NOT_OURS,
                    f"the row {command.record_id} carries {row.case_id or 'no case'} in {columns.case!r}, not {command.case_id}",
                )
            return row
        case 404, {"object": "error", "code": "object_not_found"}:
            return gone(command, "is not there any more")
        case _:
            return trouble_of(response)


def gone(command: KeepRecord, how: str) -> Permanent:
    return Permanent(
        _GONE, f"the row {command.record_id} of case {command.case_id} {how}; no other is made for it"
    )


def read_row(page: Any, columns: Columns) -> Row | None:
    match page:
        case {"object": "page", "id": str(page_id), "properties": dict(properties), **rest} if _ID.fullmatch(
            page_id
        ):
            return Row(
                page_id=page_id,
                case_id=text_of(properties.get(columns.case)),
                version=version_of(properties.get(columns.version)),
                created_time=str(rest.get("created_time", "")),
                creator=member(rest.get("created_by"), "id"),
                source=member(rest.get("parent"), "data_source_id"),
                # Before 2026-03-11 both names are told.
                is_gone=rest.get("in_trash") is True or rest.get("archived") is True,
                url=member(rest, "url"),
            )
        case _:
            return None


def member(value: Any, name: str) -> str:
    """A text inside an object; empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def text_of(rich: Any) -> str:
    """What people read in a text."""
    match rich:
        case {"rich_text": list(pieces)}:
            return "".join(member(piece, "plain_text") for piece in pieces)
        case _:
            return ""


def version_of(number: Any) -> int | Decimal:
    match number:
        case {"number": int() | Decimal() as version}:
            return version
        case _:
            return -1


def is_same(one: str, other: str) -> bool:
    """Notion takes ids with and without hyphens, and tells them with."""
    return one.replace("-", "").lower() == other.replace("-", "").lower()


def read_written(
    response: Response, command: KeepRecord, columns: Columns, was: Row | None = None
) -> Outcome:
    """Done where the answer shows the row as it was to be."""
    match response.status, response.json:
        case 200, page if (row := read_row(page, columns)) is not None:
            shown = (row.case_id, row.version) == (command.case_id, command.version)
            if shown and not row.is_gone and (was is None or is_same(row.page_id, was.page_id)):
                return Done(row.page_id, row.url)
            return Unknown("Notion's answer does not show the row as it was written")
        case _:
            return trouble_of(response)


def read_trashed(response: Response, twin: Row) -> Retryable | Unknown | None:
    """None where the double is in the trash. A refusal is no last word: a person may have been faster, and then the next look
    shows one row.
    """
    match response.status, response.json:
        case 200, {"object": "page", "id": str(page_id), "in_trash": True} if is_same(page_id, twin.page_id):
            return None
        case _:
            trouble = trouble_of(response)
            if isinstance(trouble, Permanent):
                return Retryable(
                    "conflict", f"the double {twin.page_id} could not be trashed: {trouble.reason}"
                )
            return trouble


def read_blocks(response: Response, command: KeepRecord) -> bool | str | NoAnswer:
    """Whether this version's report is among the blocks, or where to read on."""
    match response.status, response.json:
        case 200, {"object": "list", "results": list(blocks), "has_more": bool(has_more), **rest}:
            # Notion may join texts that look alike, so the paragraph is read as a whole.
            texts = [text_of(each.get("paragraph")) for each in blocks if isinstance(each, dict)]
            if any(text.startswith(headline(command)) for text in texts):
                return True
            cursor = member(rest, "next_cursor")
            if has_more:
                return cursor or Unknown("Notion has more blocks and does not say where to read on")
            return False
        case _:
            return trouble_of(response)


def read_appended(response: Response) -> NoAnswer | None:
    match response.status, response.json:
        case 200, {"object": "list", "results": [{"object": "block"}, *_]}:
            return None
        case _:
            return trouble_of(response)


def trouble_of(response: Response) -> NoAnswer:
    """What any answer but a yes says. A server error may come after the act: the vendor's own SDK repeats only reads after one."""
    match response.status, response.json:
        case 429, _:
            return Retryable("throttled", "Notion asks us to slow down", response.retry_after_s)
        case 401, _:
            return UNAUTHORISED
        case 403, _:
            return RESTRICTED
        case status, {"object": "error", "code": str(code), **rest} if (status, code) in ERRORS:
            meaning = ERRORS[status, code]
            if isinstance(meaning, Retryable):
                return replace(meaning, after_s=response.retry_after_s)
            told = member(rest, "message")[:300]
            return Permanent(meaning.code, f"{meaning.reason} ({told})" if told else meaning.reason)
        case status, _:
            return Unknown(f"unreadable answer from Notion, status {status}")


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's error codes

UNAUTHORISED: Final = Retryable(
    "unauthorised",
    "Notion refused the token: set REFUNDFLOW_NOTION_TOKEN to one of an integration that is active",
)
RESTRICTED: Final = Retryable(
    "unauthorised",
    "the Notion integration may not do this: give it the capabilities to read, insert and update content",
)

#: By status and code: a code that comes with another status than its own is not believed.
ERRORS: Final[Mapping[tuple[int, str], Retryable | Permanent]] = {
    (409, "conflict_error"): Retryable("conflict", "somebody else wrote to Notion at the same moment"),
    (529, "service_overload"): Retryable("unavailable", "Notion is overloaded and did not take the call"),
    **{
        (400, code): Permanent(code, advice)
        for code, advice in {
            "validation_error": "Notion cannot take a value, a column or an id as it is",
            "invalid_json": "Notion cannot read the call",
            "invalid_request": "Notion does not know this call",
            "invalid_request_url": "Notion does not know this address",
            "missing_version": "Notion wants its version named",
        }.items()
    },
    (404, "object_not_found"): Permanent(
        "object_not_found",
        "Notion shows no such database, data source or page: check the id, and share the database with the integration",
    ),
}
