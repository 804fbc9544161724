"""Practice Notion: rows of a data source, their schema and their blocks under `/notion/`, and signed webhooks.

Versions 2022-06-28, 2025-09-03 and 2026-03-11 by header. Shapes: the vendor's own OpenAPI description (2025-09-03), the types of
its JavaScript SDK 5.26 and https://developers.notion.com, read 2026-11-25. Where they are silent, `Habits` names the practised reading.

Strict about: bearer token, `Notion-Version` and what each version knows (databases are queried in the old one, data sources in the
newer ones; `archived` and `after` are gone from the newest), capabilities, sharing, JSON bodies without strange fields, values
that fit the schema, 2,000 characters a text (counted as JavaScript does), 100 items a list, 500 KB a request, pages in the trash.
Nothing here is idempotent: a row made twice is there twice. An unknown select option is made silently, an unknown status is not.
Only paragraphs and bulleted items are practised as blocks; icons, covers and rows outside a data source are not.

`seed({"databases"?: [{"id"?, "title"?, "is_shared"?, "data_sources": [{"id"?, "name"?, "properties": {name: type | {"type",
"options"?: […]}}}]}], "pages"?: [{"properties", "data_source"?, "in_trash"?}], "capabilities"?: ["read" | "insert" | "update"],
"reference"?: name, "habits"?: {…}})`. A fresh workspace has `DATABASE` with the one data source `DATA_SOURCE` of `SCHEMA`; a
database seeded under an id that is there takes its place.

`settle` takes `{"page": id, "properties": {…}}` (a person edits; values as the API takes them), `{"page": id, "in_trash": bool}`,
`{"page": id, "is_indexed": bool}`, `{"data_source": id, "properties": {name: type | None}}` (a person changes columns),
`{"database": id, "is_shared": bool}` or `{"database": id, "add_data_source": {…}}`. A slow_pending fault on a create keeps the row
out of every query until it is settled as indexed; late_failure means nothing here.

Webhooks: `page.created`, `page.properties_updated`, `page.content_updated`, `page.deleted`, `page.undeleted` (object: a page),
`data_source.schema_updated` (a data source), `verification` (the token itself; unsigned, as the first post of all is).

Book: `create_page`, `update_page`, `trash_page`, `restore_page`, `append_block`. `reference` is the row's text in the property
`REFERENCE`. What a person does is in no line.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import operator
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

TOKEN: Final = "ntn_practice-integration-token"  # noqa: S105 (a practice secret, known to everybody)
DATABASE: Final = "1b2c3d4e-0000-4000-8000-0000000000db"
DATA_SOURCE: Final = "1b2c3d4e-0000-4000-8000-000000000001"
WORKSPACE: Final = "1b2c3d4e-0000-4000-8000-0000000000aa"
BOT: Final = "1b2c3d4e-0000-4000-8000-0000000000b0"
PERSON: Final = "1b2c3d4e-0000-4000-8000-0000000000c0"
REFERENCE: Final = "RF case"
SCHEMA: Final[Mapping[str, str]] = {
    "Order": "title",
    REFERENCE: "rich_text",
    "State": "select",
    "Amount": "number",
    "Currency": "select",
    "Amount minor": "rich_text",
    "RF version": "number",
    "Updated": "date",
    "Reviewed": "checkbox",
}

OLD_VERSION: Final = "2022-06-28"
VERSION: Final = "2025-09-03"
NEWEST_VERSION: Final = "2026-03-11"

TEXT_MOST: Final = 2_000
URL_MOST: Final = 2_000
OPTION_MOST: Final = 100
LIST_MOST: Final = 100
PAGE_SIZE_MOST: Final = 100
BODY_MOST: Final = 500 * 1024
ATTEMPTS_MOST: Final = 8
RETRY_AFTER_S: Final = 30
# The vendor names the limit that was hit here; its list of values is not published in readable form.
RATE_LIMIT_REASON: Final = "connection_limit"

_VERSIONS: Final = (OLD_VERSION, VERSION, NEWEST_VERSION)
_OLD_ONLY: Final = ("query_database",)
_NEW_ONLY: Final = ("get_data_source", "query_data_source")
_CAPABILITIES: Final = ("read", "insert", "update")
_TYPES: Final = ("title", "rich_text", "number", "select", "status", "date", "checkbox", "url")
_BLOCKS: Final = ("paragraph", "bulleted_list_item")
_ABOUT_PAGE: Final = ("created", "properties_updated", "content_updated", "deleted", "undeleted")
_STATUS_OF: Final = {
    **dict.fromkeys(
        ("validation_error", "invalid_json", "invalid_request", "invalid_request_url", "missing_version"), 400
    ),
    "unauthorized": 401,
    "restricted_resource": 403,
    "object_not_found": 404,
    "conflict_error": 409,
    "rate_limited": 429,
    "internal_server_error": 500,
    "service_unavailable": 503,
    "gateway_timeout": 504,
    "service_overload": 529,
}
_CODE_OF: Final = {status: code for code, status in _STATUS_OF.items() if status != 400}
_MESSAGE_OF: Final = {
    "validation_error": "body failed validation.",
    "unauthorized": "API token is invalid.",
    "restricted_resource": "Insufficient permissions for this endpoint.",
    "conflict_error": "Conflict occurred while saving. Please try again.",
    "rate_limited": "You have been rate limited. Please try again in a few minutes.",
    "internal_server_error": "Unexpected error occurred.",
    "service_unavailable": "Public API service is temporarily unavailable, please try again later.",
    "invalid_request_url": "Invalid request URL.",
    "invalid_json": "Error parsing JSON body.",
}
_ID: Final = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?")
_PLAIN: Final = {
    "bold": False,
    "italic": False,
    "strikethrough": False,
    "underline": False,
    "code": False,
    "color": "default",
}
_ABSENT: Final = object()

Test = Callable[[Any, Any], bool]
Item = TypeVar("Item", "Page", "Block")
_EQUALITY: Final[Mapping[str, Test]] = {"equals": operator.eq, "does_not_equal": operator.ne}
_IN_TEXT: Final[Mapping[str, Test]] = {
    **_EQUALITY,
    "contains": operator.contains,
    "does_not_contain": lambda text, part: part not in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}
_IN_NUMBERS: Final[Mapping[str, Test]] = {
    **_EQUALITY,
    "greater_than": operator.gt,
    "less_than": operator.lt,
    "greater_than_or_equal_to": operator.ge,
    "less_than_or_equal_to": operator.le,
}
_IN_TIME: Final[Mapping[str, Test]] = {
    "equals": operator.eq,
    "before": operator.lt,
    "after": operator.gt,
    "on_or_before": operator.le,
    "on_or_after": operator.ge,
}
_TESTS: Final[Mapping[str, Mapping[str, Test]]] = {
    **dict.fromkeys(("title", "rich_text", "url"), _IN_TEXT),
    **dict.fromkeys(("select", "status"), _EQUALITY),
    **dict.fromkeys(("date", "created_time", "last_edited_time"), _IN_TIME),
    "number": _IN_NUMBERS,
    "checkbox": _EQUALITY,
}


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or promises loosely.

    `query_delay_s`: how long after it was made a row can be found by a query (by its id: at once). `query_most`: rows that a query
    tells of in all its pages together. `newest_first`: the order of a query that asks for none. `takes_database_parent`: whether
    the newer versions still take a database of one data source as a parent. `keeps_minutes_only`: whether times, those of pages
    and those in date properties, lose their seconds. `trashes_twice`: whether trashing what is in the trash is a success.
    """

    query_delay_s: float = 0.0
    query_most: int = 10_000
    newest_first: bool = True
    takes_database_parent: bool = False
    keeps_minutes_only: bool = True
    trashes_twice: bool = False


@dataclass(slots=True)
class Column:
    """One property of a data source. `options`: of a select or status."""

    id: str
    name: str
    type: str
    options: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Source:
    id: str
    name: str
    database: str
    columns: list[Column]

    def find(self, key: str) -> Column | None:
        """By name or by id, as the vendor takes either."""
        return next((each for each in self.columns if key in (each.name, each.id)), None)


@dataclass(slots=True)
class Database:
    id: str
    title: str
    sources: list[str]
    is_shared: bool = True


@dataclass(slots=True)
class Page:
    """One row. `values`: by column id, in the form in which the vendor tells them."""

    id: str
    source: str
    created: datetime
    edited: datetime
    edited_by: str
    values: dict[str, Any]
    blocks: list[Block] = field(default_factory=list)
    in_trash: bool = False
    is_indexed: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    id: str
    type: str
    text: list[Record]
    created: datetime


def fail(code: str, message: str = "", **additional: Any) -> NoReturn:
    """Ends the call with the vendor's error; its status follows from the code."""
    raise RefusalError(_error(code, message, **additional))


def signature_of(token: str, body: bytes) -> str:
    """The value of `X-Notion-Signature`."""
    return "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()


class Notion(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "notion"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._routes = (
            Route("GET", "/v1/users/me", "get_me", self._get_me),
            Route("GET", "/v1/databases/{database_id}", "get_database", self._get_database),
            Route("POST", "/v1/databases/{database_id}/query", "query_database", self._query),
            Route("GET", "/v1/data_sources/{data_source_id}", "get_data_source", self._get_source),
            Route("POST", "/v1/data_sources/{data_source_id}/query", "query_data_source", self._query),
            Route("POST", "/v1/pages", "create_page", self._create_page),
            Route("GET", "/v1/pages/{page_id}", "get_page", self._get_page),
            Route("PATCH", "/v1/pages/{page_id}", "update_page", self._update_page),
            Route("GET", "/v1/blocks/{block_id}/children", "list_blocks", self._list_blocks),
            Route("PATCH", "/v1/blocks/{block_id}/children", "append_blocks", self._append_blocks),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.capabilities: frozenset[str] = frozenset(_CAPABILITIES)
        self.reference = REFERENCE
        self.databases: dict[str, Database] = {}
        self.sources: dict[str, Source] = {}
        self.pages: dict[str, Page] = {}
        self._attempts: Counter[str] = Counter()
        self._add_database(
            {
                "id": DATABASE,
                "title": "Cancellations",
                "data_sources": [{"id": DATA_SOURCE, "name": "Cancellations", "properties": SCHEMA}],
            }
        )

    # ------------------------------------------------------------ controls

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            if strange := set(data.get("capabilities", ())) - set(_CAPABILITIES):
                raise ValueError(f"cannot seed notion: no capability {sorted(strange)}")
            self.capabilities = frozenset(data.get("capabilities", self.capabilities))
            self.reference = data.get("reference", self.reference)
            databases = [self._add_database(each) for each in data.get("databases", ())]
            pages = [self._add_page(each) for each in data.get("pages", ())]
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed notion: {wrong!r}") from wrong
        except RefusalError as refused:
            raise ValueError(f"cannot seed notion: {refused.answer.body['message']}") from refused
        return {
            "databases": [{"id": each.id, "data_sources": list(each.sources)} for each in databases],
            "pages": [each.id for each in pages],
        }

    def settle(self, data: Record) -> Record:
        try:
            match data:
                case {"page": str(page_id), **change}:
                    self._settle_page(self._page_here(page_id), change)
                case {"data_source": str(source_id), "properties": dict(columns)}:
                    self._settle_columns(self._source_here(source_id), columns)
                case {"database": str(database_id), "is_shared": bool(is_shared)}:
                    self._database_here(database_id).is_shared = is_shared
                case {"database": str(database_id), "add_data_source": dict(described)}:
                    database = self._database_here(database_id)
                    source = self._make_source(described, database.id)
                    self.sources[source.id] = source
                    database.sources.append(source.id)
                    return {**data, "id": source.id}
                case _:
                    raise ValueError("notion settles a page, a data_source's properties, or a database")
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot settle notion: {wrong!r}") from wrong
        except RefusalError as refused:
            raise ValueError(refused.answer.body["message"]) from refused
        return data

    def _settle_page(self, page: Page, change: Record) -> None:
        match change:
            case {"properties": dict(properties)}:
                values = self._read_values(self.sources[page.source], properties)
                self._write_values(page, values, PERSON)
            case {"in_trash": bool(in_trash)}:
                self._move(page, PERSON, in_trash=in_trash)
            case {"is_indexed": bool(is_indexed)}:
                page.is_indexed = is_indexed
            case _:
                raise ValueError("a page is settled by properties, in_trash or is_indexed")

    def _settle_columns(self, source: Source, changed: Record) -> None:
        """Columns come, go (None) or change their type, which takes their values away."""
        made = {
            name: None if described is None else self._make_column(name, described)
            for name, described in changed.items()
        }
        old = {name: source.find(name) for name in changed}
        for name, new in made.items():
            if new is None and old[name] is None:
                raise NoSuchObjectError(f"notion has no property {name!r} in {source.id}")
            if "title" in {each.type for each in (new, old[name]) if each is not None}:
                raise ValueError("a data source keeps its one title")
        told = []
        for name, new in made.items():
            if (before := old[name]) is not None:
                source.columns.remove(before)
                for page in self.pages.values():
                    page.values.pop(before.id, None)
            if new is not None:
                new.id = before.id if before is not None else new.id
                source.columns.append(new)
            changed_id = before.id if before is not None else new.id if new is not None else ""
            action = "deleted" if new is None else "updated" if before is not None else "created"
            told.append({"id": changed_id, "name": new.name if new is not None else None, "action": action})
        self.emit(self._schema_event(source, told))

    def _add_database(self, described: Mapping[str, Any]) -> Database:
        database_id = _canonical(described.get("id", str(uuid.uuid4())))
        sources = [self._make_source(each, database_id) for each in described["data_sources"]]
        if (before := self.databases.get(database_id)) is not None:
            for each in before.sources:
                self.sources.pop(each, None)
        database = Database(
            database_id,
            described.get("title", "Cancellations"),
            [each.id for each in sources],
            described.get("is_shared", True),
        )
        self.databases[database_id] = database
        self.sources |= {each.id: each for each in sources}
        return database

    def _make_source(self, described: Mapping[str, Any], database: str) -> Source:
        columns = [self._make_column(*each) for each in described["properties"].items()]
        if [each.type for each in columns].count("title") != 1:
            raise ValueError("a data source has exactly one property of type title")
        source_id = _canonical(described.get("id", str(uuid.uuid4())))
        return Source(source_id, described.get("name", "Cancellations"), database, columns)

    def _make_column(self, name: str, described: Any) -> Column:
        kind, options = (
            (described, ())
            if isinstance(described, str)
            else (described["type"], described.get("options", ()))
        )
        if kind not in _TYPES:
            raise ValueError(f"notion practises no property of type {kind!r}, only {', '.join(_TYPES)}")
        column_id = "title" if kind == "title" else self.mint(length=4)
        return Column(column_id, name, kind, [self._make_option(each) for each in options])

    def _make_option(self, name: str) -> Record:
        return {"id": str(uuid.uuid4()), "name": name, "color": "default", "description": None}

    def _add_page(self, described: Mapping[str, Any]) -> Page:
        source = self._source_here(described.get("data_source", DATA_SOURCE))
        values = self._read_values(source, described["properties"])
        now = self.world.clock()
        page = Page(str(uuid.uuid4()), source.id, now, now, PERSON, values)
        page.in_trash = bool(described.get("in_trash", False))
        self.pages[page.id] = page
        return page

    def _page_here(self, page_id: str) -> Page:
        if page_id not in self.pages:
            raise NoSuchObjectError(f"notion has no page {page_id!r}")
        return self.pages[page_id]

    def _source_here(self, source_id: str) -> Source:
        if source_id not in self.sources:
            raise NoSuchObjectError(f"notion has no data source {source_id!r}")
        return self.sources[source_id]

    def _database_here(self, database_id: str) -> Database:
        if database_id not in self.databases:
            raise NoSuchObjectError(f"notion has no database {database_id!r}")
        return self.databases[database_id]

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        is_known = scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), TOKEN.encode())
        return None if is_known else self.finish(call, self.unauthorised(call))

    def begin(self, call: Call) -> Answer | None:
        """The version is looked at before the path: each version knows other paths."""
        version = call.headers.get("notion-version")
        if version not in _VERSIONS:
            shown = "undefined" if version is None else json.dumps(version)
            wanted = "defined" if version is None else " or ".join(f'`"{each}"`' for each in _VERSIONS)
            message = f"Notion-Version header failed validation: Notion-Version header should be {wanted}, instead was `{shown}`."
            code = "missing_version" if version is None else "validation_error"
            return self.finish(call, _error(code, message))
        strange = _NEW_ONLY if version == OLD_VERSION else _OLD_ONLY
        return self.finish(call, self.not_found(call)) if call.operation in strange else None

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Every answer of the vendor's own names its request; whoever shall wait is told how long."""
        if not isinstance(answer.body, dict):
            return answer
        request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, call.request_id))
        headers = {"x-notion-request-id": request_id, **answer.headers}
        if answer.status in (429, 529) and "retry-after" not in {name.lower() for name in headers}:
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return replace(answer, body={**answer.body, "request_id": request_id}, headers=headers)

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _error("unauthorized")

    def refuse(self, call: Call) -> Answer:
        """The error that the fault's `code` names."""
        code = call.fault.code if call.fault is not None else ""
        return _error(code if code in _STATUS_OF else "validation_error")

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _error("invalid_request_url")

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        code = _CODE_OF.get(status, "internal_server_error" if status >= 500 else "validation_error")
        body: Record = _error(code).body
        body["status"] = status
        if status == 429:
            body["additional_data"] = {"rate_limit_reason": RATE_LIMIT_REASON}
        return body

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            fail("restricted_resource")

    # ------------------------------------------------------------ reading

    def _get_me(self, call: Call) -> Answer:  # noqa: ARG002 (a handler)
        bot = {
            "owner": {"type": "workspace", "workspace": True},
            "workspace_name": "Practice shop",
            "workspace_id": WORKSPACE,
        }
        return Answer(
            200,
            {
                "object": "user",
                "id": BOT,
                "name": "refundflow",
                "avatar_url": None,
                "type": "bot",
                "bot": bot,
            },
        )

    def _get_database(self, call: Call) -> Answer:
        self._need("read")
        database = self._database(_path_id(call, "database_id"))
        version = _version(call)
        told: Record = {
            "object": "database",
            "id": database.id,
            "title": [_text(database.title)],
            "description": [],
            "parent": {"type": "workspace", "workspace": True},
            "is_inline": False,
            "url": f"https://www.notion.so/{database.id.replace('-', '')}",
            **_trash(version, in_trash=False),
        }
        if version == OLD_VERSION:
            told["properties"] = _schema(self._only_source(database))
        else:
            sources = (self.sources[each] for each in database.sources)
            told["data_sources"] = [{"id": each.id, "name": each.name} for each in sources]
        return Answer(200, told)

    def _get_source(self, call: Call) -> Answer:
        self._need("read")
        source = self._source(_path_id(call, "data_source_id"))
        told = {
            "object": "data_source",
            "id": source.id,
            "title": [_text(source.name)],
            "description": [],
            "parent": {"type": "database_id", "database_id": source.database},
            "database_parent": {"type": "workspace", "workspace": True},
            "is_inline": False,
            **_trash(_version(call), in_trash=False),
            "properties": _schema(source),
        }
        return Answer(200, told)

    def _get_page(self, call: Call) -> Answer:
        self._need("read")
        page = self._page(_path_id(call, "page_id"))
        return Answer(200, self._shown(page, _version(call), _wanted_columns(call)))

    def _query(self, call: Call) -> Answer:
        """Rows of one data source; those too young for the index are not among them."""
        self._need("read")
        version = _version(call)
        if version == OLD_VERSION:
            source = self._only_source(self._database(_path_id(call, "database_id")))
        else:
            source = self._source(_path_id(call, "data_source_id"))
        body = _body(call)
        is_trash = _read_trash(body, version)
        _only(body, "filter", "sorts", "start_cursor", "page_size", "in_trash")
        is_wanted = self._read_filter(source, body["filter"]) if "filter" in body else lambda _: True
        now = self.world.clock()
        found = [
            page
            for page in self.pages.values()
            if page.source == source.id
            and page.in_trash == bool(is_trash)
            and page.is_indexed
            and (now - page.created).total_seconds() >= self.habits.query_delay_s
            and is_wanted(page)
        ]
        found = self._sorted(source, found, body.get("sorts", []))
        is_cut = len(found) > self.habits.query_most
        chosen, cursor = _paged(
            found[: self.habits.query_most], body.get("page_size", PAGE_SIZE_MOST), body.get("start_cursor")
        )
        columns = _wanted_columns(call)
        told = _listed([self._shown(page, version, columns) for page in chosen], cursor)
        kind = "page_or_database" if version == OLD_VERSION else "page_or_data_source"
        told |= {"type": kind, kind: {}}
        if version != OLD_VERSION:
            is_last = is_cut and cursor is None
            told["request_status"] = {
                "type": "incomplete" if is_last else "complete",
                **({"incomplete_reason": "query_result_limit_reached"} if is_last else {}),
            }
        return Answer(200, told)

    def _sorted(self, source: Source, pages: list[Page], sorts: Any) -> list[Page]:
        if not isinstance(sorts, list):
            _invalid("body.sorts", "an array", sorts)
        if self.habits.newest_first:
            pages.reverse()
        for index, sort in reversed(list(enumerate(sorts))):
            match sort:
                case {"direction": "ascending" | "descending" as direction, "timestamp": str(kind)} if (
                    kind
                    in (
                        "created_time",
                        "last_edited_time",
                    )
                ):
                    told = {page.id: self._time_of(page, kind) for page in pages}
                case {"direction": "ascending" | "descending" as direction, "property": str(key)}:
                    column = _known_column(source, key)
                    told = {page.id: _plain(column.type, page.values.get(column.id)) for page in pages}
                case _:
                    _invalid(f"body.sorts[{index}]", "a property or timestamp with a direction", sort)
            filled = [page for page in pages if told[page.id] not in (None, "")]
            empty = [page for page in pages if told[page.id] in (None, "")]
            filled.sort(key=lambda page: told[page.id], reverse=direction == "descending")
            pages = filled + empty
        return pages

    # ------------------------------------------------------------ filters

    def _read_filter(
        self, source: Source, asked: Any, where: str = "body.filter", depth: int = 0
    ) -> Callable[[Page], bool]:
        """The test that a filter means. All of it is checked at once, also where there is no row to test."""
        match asked:
            case {"and": list(parts)} | {"or": list(parts)} if depth < 2 and len(asked) == 1:
                [word] = asked
                combine = all if word == "and" else any
                tests = [
                    self._read_filter(source, part, f"{where}.{word}[{index}]", depth + 1)
                    for index, part in enumerate(parts)
                ]
                return lambda page: combine(test(page) for test in tests)
            case {"timestamp": "created_time" | "last_edited_time" as kind, **rest} if set(rest) == {kind}:
                accept = _read_condition(kind, rest[kind], f"{where}.{kind}")
                return lambda page: accept(self._time_of(page, kind))
            case {"property": str(key), **rest}:
                column = _known_column(source, key)
                rest.pop("type", None)
                if len(rest) != 1 or (kind := next(iter(rest))) not in _TYPES:
                    _fix_one(where, _TYPES)
                if kind != column.type:
                    fail("validation_error", f"database property {column.type} does not match filter {kind}")
                accept = _read_condition(kind, rest[kind], f"{where}.{kind}")
                return lambda page: accept(_plain(kind, page.values.get(column.id)))
            case _:
                _fix_one(where, ("or", "and", *_TYPES))

    # ------------------------------------------------------------ writing

    def _create_page(self, call: Call) -> Answer:
        self._need("insert")
        version = _version(call)
        body = _body(call)
        source = self._parent(body.get("parent", _ABSENT), version)
        properties = _object(body.get("properties", _ABSENT), "body.properties")
        _only(body, "parent", "properties", "children")
        blocks = self._read_blocks(body.get("children", []))
        values = self._read_values(source, properties)
        now = self.world.clock()
        page = Page(str(uuid.uuid4()), source.id, now, now, BOT, values, blocks)
        page.is_indexed = not call.has(Kind.SLOW_PENDING)
        self.pages[page.id] = page
        self._note("create_page", page, values, blocks=len(blocks))
        self._tell("page.created", page, BOT)
        return Answer(200, self._shown(page, version))

    def _update_page(self, call: Call) -> Answer:
        """Sets what is sent and keeps the rest; whoever writes last has it."""
        self._need("update")
        version = _version(call)
        page = self._page(_path_id(call, "page_id"))
        body = _body(call)
        in_trash = _read_trash(body, version)
        _only(body, "properties", "in_trash")
        properties = _object(body.get("properties", {}), "body.properties")
        if page.in_trash and in_trash is not False and not (in_trash and self.habits.trashes_twice):
            _refuse_trashed()
        values = self._read_values(self.sources[page.source], properties)
        if in_trash is False:
            self._move(page, BOT, in_trash=False)
        if values:
            self._write_values(page, values, BOT)
            self._note("update_page", page, values)
        if in_trash:
            self._move(page, BOT, in_trash=True)
        return Answer(200, self._shown(page, version))

    def _write_values(self, page: Page, values: dict[str, Any], author: str) -> None:
        page.values |= values
        page.edited, page.edited_by = self.world.clock(), author
        self._tell("page.properties_updated", page, author, updated_properties=list(values))

    def _move(self, page: Page, author: str, *, in_trash: bool) -> None:
        if page.in_trash == in_trash:
            return
        page.in_trash = in_trash
        page.edited, page.edited_by = self.world.clock(), author
        if author == BOT:
            self._note("trash_page" if in_trash else "restore_page", page)
        self._tell("page.deleted" if in_trash else "page.undeleted", page, author)

    def _parent(self, parent: Any, version: str) -> Source:
        """The data source that a new row goes to; the old version names its database instead."""
        is_old = version == OLD_VERSION
        wanted = "database_id" if is_old else "data_source_id"
        parent = _object(parent, "body.parent")
        named = [each for each in ("data_source_id", "database_id", "page_id") if each in parent]
        if len(named) != 1 or parent.get("type", named[0]) != named[0]:
            _fix_one("body.parent", (wanted,))
        [kind] = named
        key = parent[kind]
        if not isinstance(key, str) or not _ID.fullmatch(key):
            _invalid(f"body.parent.{kind}", "a valid uuid", key)
        match kind:
            case "data_source_id" if not is_old:
                return self._source(_canonical(key))
            case "database_id" if is_old or self.habits.takes_database_parent:
                return self._only_source(self._database(_canonical(key)))
            case "database_id" | "page_id":
                _missing(kind.removesuffix("_id"), key)
            case _:
                _fix_one("body.parent", (wanted,))

    def _read_values(self, source: Source, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Values by column id. First their form is checked, then whether they fit the schema; only then are options made."""
        read = [
            (
                name,
                *_read_value(
                    value, f"body.properties.{name}", keeps_seconds=not self.habits.keeps_minutes_only
                ),
            )
            for name, value in properties.items()
        ]
        wrong, values, made = [], {}, []
        for name, kind, value in read:
            column = source.find(name)
            if column is None:
                wrong.append(f"{name} is not a property that exists.")
            elif kind != column.type:
                wrong.append(f"{name} is expected to be {column.type}.")
            elif kind in ("select", "status") and value is not None:
                option = next((each for each in column.options if _is_option(each, value)), None)
                if option is None and (kind == "status" or "name" not in value):
                    told = value.get("name", value.get("id"))
                    wrong.append(
                        f'Invalid status option. Status option "{told}" does not exist.'
                        if kind == "status"
                        else f"{told} is an invalid select option."
                    )
                elif option is None:
                    option = self._make_option(value["name"])
                    made.append((column, option))
                values[column.id] = option
            else:
                values[column.id] = value
        if wrong:
            fail("validation_error", " ".join(wrong))
        for column, option in made:
            column.options.append(option)
        return values

    # ------------------------------------------------------------ blocks

    def _append_blocks(self, call: Call) -> Answer:
        self._need("insert")
        version = _version(call)
        page = self._page(_path_id(call, "block_id"), kind="block")
        body = _body(call)
        placing = "position" if version == NEWEST_VERSION else "after"
        _only(body, "children", placing)
        blocks = self._read_blocks(body.get("children", _ABSENT))
        if page.in_trash:
            _refuse_trashed()
        index = _place(page, body.get(placing, _ABSENT), version)
        page.blocks[index:index] = blocks
        page.edited, page.edited_by = self.world.clock(), BOT
        for block in blocks:
            self._note("append_block", page, block=block)
        self._tell(
            "page.content_updated",
            page,
            BOT,
            updated_blocks=[{"id": block.id, "type": "block"} for block in blocks],
        )
        told = _listed([self._shown_block(page, block, version) for block in blocks], None)
        return Answer(200, {**told, "type": "block", "block": {}})

    def _list_blocks(self, call: Call) -> Answer:
        self._need("read")
        version = _version(call)
        page = self._page(_path_id(call, "block_id"), kind="block")
        asked = dict(call.query_pairs)
        size = asked.get("page_size", str(PAGE_SIZE_MOST))
        chosen, cursor = _paged(
            page.blocks, int(size) if size.isdigit() else size, asked.get("start_cursor"), "query"
        )
        told = _listed([self._shown_block(page, block, version) for block in chosen], cursor)
        return Answer(200, {**told, "type": "block", "block": {}})

    def _read_blocks(self, children: Any) -> list[Block]:
        where = "body.children"
        _check_list(children, where)
        now = self.world.clock()
        blocks = []
        for index, child in enumerate(children):
            place = f"{where}[{index}]"
            content = dict(_object(child, place))
            if content.pop("object", "block") != "block":
                _invalid(f"{place}.object", '`"block"`', child["object"])
            kind = content.pop("type", next(iter(content), ""))
            if kind not in _BLOCKS or kind not in content:
                _fix_one(place, _BLOCKS)
            inner = _object(content[kind], f"{place}.{kind}")
            _only(content, kind, where=place)
            _only(inner, "rich_text", "color", where=f"{place}.{kind}")
            text = _read_text(inner.get("rich_text", _ABSENT), f"{place}.{kind}.rich_text")
            blocks.append(Block(str(uuid.uuid4()), kind, text, now))
        return blocks

    # ------------------------------------------------------------ finding

    def _database(self, database_id: str) -> Database:
        database = self.databases.get(database_id)
        if database is None or not database.is_shared:
            _missing("database", database_id)
        return database

    def _source(self, source_id: str) -> Source:
        source = self.sources.get(source_id)
        if source is None or not self.databases[source.database].is_shared:
            _missing("data_source", source_id)
        return source

    def _only_source(self, database: Database) -> Source:
        """The one data source that callers of a database mean; with two, nobody knows which."""
        if len(database.sources) != 1:
            fail(
                "validation_error",
                "Databases with multiple data sources are not supported in this API version.",
                error_type="multiple_data_sources_for_database",
                database_id=database.id,
                child_data_source_ids=list(database.sources),
                minimum_api_version=VERSION,
            )
        return self.sources[database.sources[0]]

    def _page(self, page_id: str, kind: str = "page") -> Page:
        page = self.pages.get(page_id)
        source = None if page is None else self.sources.get(page.source)
        if page is None or source is None or not self.databases[source.database].is_shared:
            _missing(kind, page_id)
        return page

    # ------------------------------------------------------------ telling

    def _shown(self, page: Page, version: str, columns: Sequence[str] = ()) -> Record:
        source = self.sources[page.source]
        parent: Record = {"type": "database_id", "database_id": source.database}
        if version != OLD_VERSION:
            parent = {"type": "data_source_id", "data_source_id": source.id, "database_id": source.database}
        title = next(
            _plain(each.type, page.values.get(each.id)) for each in source.columns if each.type == "title"
        )
        slug = re.sub(r"[^0-9A-Za-z]+", "-", f"{title}-{page.id.replace('-', '')}").strip("-")
        return {
            "object": "page",
            "id": page.id,
            "created_time": self._time_of(page, "created_time"),
            "last_edited_time": self._time_of(page, "last_edited_time"),
            "created_by": {"object": "user", "id": BOT},
            "last_edited_by": {"object": "user", "id": page.edited_by},
            "cover": None,
            "icon": None,
            "parent": parent,
            **_trash(version, in_trash=page.in_trash),
            "properties": {
                each.name: {
                    "id": each.id,
                    "type": each.type,
                    each.type: _stored(each.type, page.values.get(each.id)),
                }
                for each in source.columns
                if not columns or each.id in columns
            },
            "url": f"https://www.notion.so/{slug}",
            "public_url": None,
        }

    def _shown_block(self, page: Page, block: Block, version: str) -> Record:
        return {
            "object": "block",
            "id": block.id,
            "parent": {"type": "page_id", "page_id": page.id},
            "created_time": self._stamp(block.created),
            "last_edited_time": self._stamp(block.created),
            "created_by": {"object": "user", "id": BOT},
            "last_edited_by": {"object": "user", "id": BOT},
            "has_children": False,
            **_trash(version, in_trash=False),
            "type": block.type,
            block.type: {"rich_text": block.text, "color": "default"},
        }

    def _time_of(self, page: Page, kind: str) -> str:
        return self._stamp(page.created if kind == "created_time" else page.edited)

    def _stamp(self, at: datetime) -> str:
        if self.habits.keeps_minutes_only:
            at = at.replace(second=0, microsecond=0)
        return _iso(at)

    def _note(
        self,
        effect: str,
        page: Page,
        values: Mapping[str, Any] | None = None,
        *,
        block: Block | None = None,
        **more: Any,
    ) -> None:
        source = self.sources[page.source]
        reference = source.find(self.reference)
        if values is not None:
            more["properties"] = {
                each.name: _plain(each.type, values[each.id]) for each in source.columns if each.id in values
            }
        if block is not None:
            more["text"] = _plain("rich_text", block.text)
        self.book.write(
            effect,
            id=page.id if block is None else block.id,
            target={"database": source.database, "data_source": source.id, "page": page.id},
            reference=_plain(reference.type, page.values.get(reference.id)) or None if reference else None,
            **more,
        )

    # ------------------------------------------------------------ webhooks

    def event_for(self, topic: str, object_id: str) -> Event:
        """A page's events are told of a page, the schema's of a data source; `verification` carries its object as the token."""
        prefix, _, what = topic.partition(".")
        if topic == "verification":
            return Event(str(uuid.uuid4()), topic, {"verification_token": object_id})
        if topic == "data_source.schema_updated":
            return self._schema_event(self._source_here(object_id), [])
        if prefix != "page" or what not in _ABOUT_PAGE:
            raise NoSuchObjectError(f"notion sends no {topic!r} about {object_id!r}")
        page = self._page_here(object_id)
        more: Record = {}
        if what == "properties_updated":
            more["updated_properties"] = list(page.values)
        if what == "content_updated":
            more["updated_blocks"] = [{"id": block.id, "type": "block"} for block in page.blocks]
        return self._page_event(topic, page, page.edited_by, **more)

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`X-Notion-Signature` over the raw body; each try has its own number in the body, so its own signature."""
        body = event.payload
        if isinstance(event.body, dict):
            told = dict(event.body)
            if "attempt_number" in told:
                with self.lock:
                    self._attempts[event.id] += 1
                    told["attempt_number"] = min(self._attempts[event.id], ATTEMPTS_MOST)
            body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "notion-api (practice)"}
        if event.topic != "verification":
            headers["X-Notion-Signature"] = signature_of(secret, body)
        return Delivery(headers, body)

    def _tell(self, topic: str, page: Page, author: str, **more: Any) -> None:
        self.emit(self._page_event(topic, page, author, **more))

    def _page_event(self, topic: str, page: Page, author: str, **more: Any) -> Event:
        source = self.sources[page.source]
        parent = {"id": source.database, "type": "database", "data_source_id": source.id}
        return self._event(topic, {"id": page.id, "type": "page"}, {"parent": parent, **more}, author)

    def _schema_event(self, source: Source, changed: list[Record]) -> Event:
        parent = {"id": source.database, "type": "database"}
        data = {"parent": parent, "updated_properties": changed}
        return self._event(
            "data_source.schema_updated", {"id": source.id, "type": "data_source"}, data, PERSON
        )

    def _event(self, topic: str, entity: Record, data: Record, author: str) -> Event:
        """A signal without values: whoever wants to know them asks."""
        event_id = str(uuid.uuid4())
        body = {
            "id": event_id,
            "timestamp": _iso(self.world.clock()),
            "workspace_id": WORKSPACE,
            "workspace_name": "Practice shop",
            "subscription_id": str(uuid.uuid5(uuid.NAMESPACE_OID, "subscription")),
            "integration_id": str(uuid.uuid5(uuid.NAMESPACE_OID, "integration")),
            "authors": [{"id": author, "type": "bot" if author == BOT else "person"}],
            "attempt_number": 1,
            "api_version": VERSION,
            "entity": entity,
            "type": topic,
            "data": data,
        }
        return Event(event_id, topic, body)


# ---------------------------------------------------------------- requests read


def _version(call: Call) -> str:
    return call.headers["notion-version"]


def _canonical(key: str) -> str:
    return str(uuid.UUID(key))


def _path_id(call: Call, name: str) -> str:
    key = call.ids[name]
    if not _ID.fullmatch(key):
        _invalid(f"path.{name}", "a valid uuid", key)
    return _canonical(key)


def _wanted_columns(call: Call) -> list[str]:
    return [value for name, value in call.query_pairs if name == "filter_properties"]


def _body(call: Call) -> Record:
    """The request's object; a query may come without one."""
    if len(call.body) > BODY_MOST:
        fail("validation_error", f"body failed validation: body.length should be ≤ `{BODY_MOST}`.")
    if not call.body:
        return {}
    if call.content_type != "application/json" or (body := call.json) is None:
        fail("invalid_json")
    return dict(_object(body, "body"))


def _read_trash(body: Record, version: str) -> bool | None:
    """Whether the trash is meant (None: not said). `archived` is its other name, until the newest version."""
    if version != NEWEST_VERSION and "archived" in body:
        body.setdefault("in_trash", body.pop("archived"))
        body.pop("archived", None)
    in_trash = body.get("in_trash")
    if "in_trash" in body and not isinstance(in_trash, bool):
        _invalid("body.in_trash", "a boolean or `undefined`", in_trash)
    return in_trash


def _read_value(value: Any, where: str, *, keeps_seconds: bool) -> tuple[str, Any]:
    """A property's type as sent, and its value; an option is not looked up yet."""
    value = _object(value, where)
    kinds = [each for each in _TYPES if each in value]
    if len(kinds) != 1 or value.get("type", kinds[0]) != kinds[0]:
        _fix_one(where, _TYPES)
    [kind] = kinds
    _only(value, "type", kind, where=where)
    sent, where = value[kind], f"{where}.{kind}"
    match kind:
        case "title" | "rich_text":
            return kind, _read_text(sent, where)
        case "number":
            return kind, _read_number(sent, where)
        case "checkbox" if not isinstance(sent, bool):
            _invalid(where, "a boolean", sent)
        case "url" if sent is not None:
            _check_string(sent, where, URL_MOST)
        case "select" | "status" if sent is not None:
            _check_option(_object(sent, where), where)
        case "date" if sent is not None:
            return kind, _read_date(_object(sent, where), where, keeps_seconds=keeps_seconds)
    return kind, sent


def _read_text(items: Any, where: str) -> list[Record]:
    _check_list(items, where)
    read = []
    for index, item in enumerate(items):
        place = f"{where}[{index}]"
        item = _object(item, place)
        _only(item, "type", "text", "annotations", where=place)
        if item.get("type", "text") != "text":
            _invalid(f"{place}.type", '`"text"`', item["type"])
        text = _object(item.get("text", _ABSENT), f"{place}.text")
        _only(text, "content", "link", where=f"{place}.text")
        _check_string(text.get("content", _ABSENT), f"{place}.text.content", TEXT_MOST)
        if (link := text.get("link")) is not None:
            _check_string(
                _object(link, f"{place}.text.link").get("url", _ABSENT), f"{place}.text.link.url", URL_MOST
            )
        read.append(_text(text["content"], link, item.get("annotations", {})))
    return read


def _read_number(sent: Any, where: str) -> int | float | None:
    """A JSON number as a double keeps it, so that what a double cannot hold comes back changed."""
    if sent is None:
        return None
    if isinstance(sent, bool) or not isinstance(sent, int | float) or not math.isfinite(sent):
        _invalid(where, "a number or `null`", sent)
    number = float(sent)
    return int(number) if number.is_integer() else number


def _read_date(sent: Mapping[str, Any], where: str, *, keeps_seconds: bool) -> Record:
    _only(sent, "start", "end", "time_zone", where=where)
    start = _read_time(sent.get("start", _ABSENT), f"{where}.start", keeps_seconds=keeps_seconds)
    end = sent.get("end")
    if end is not None:
        end = _read_time(end, f"{where}.end", keeps_seconds=keeps_seconds)
    return {"start": start, "end": end, "time_zone": sent.get("time_zone")}


def _read_time(sent: Any, where: str, *, keeps_seconds: bool) -> str:
    try:
        if not isinstance(sent, str) or not _DATE.fullmatch(sent):
            raise ValueError
        at = _moment(sent)
    except ValueError:
        _invalid(where, "a valid ISO 8601 date string", sent)
    if "T" not in sent:
        return sent
    at = at if keeps_seconds else at.replace(second=0, microsecond=0)
    return at.isoformat(timespec="milliseconds")


def _read_condition(kind: str, asked: Any, where: str) -> Callable[[Any], bool]:
    """A test of one value. What is empty passes only tests that say no to something, or ask for it."""
    tests = _TESTS[kind]
    match asked:
        case {"is_empty": True} if len(asked) == 1 and kind != "checkbox":
            return lambda value: value in (None, "")
        case {"is_not_empty": True} if len(asked) == 1 and kind != "checkbox":
            return lambda value: value not in (None, "")
        case dict() if len(asked) == 1 and (word := next(iter(asked))) in tests:
            test, operand, place = tests[word], asked[word], f"{where}.{word}"
        case _:
            _fix_one(where, [*tests, *(() if kind == "checkbox" else ("is_empty", "is_not_empty"))])
    match kind:
        case "number":
            operand = _read_number(_defined(operand, place), place)
        case "checkbox" if not isinstance(operand, bool):
            _invalid(place, "a boolean", operand)
        case "date" | "created_time" | "last_edited_time":
            operand = _moment(_read_time(operand, place, keeps_seconds=True))
            return lambda value: value is not None and test(_moment(value), operand)
        case "title" | "rich_text" | "url" | "select" | "status":
            _check_string(operand, place, TEXT_MOST)
    return lambda value: word.startswith("does_not") if value in (None, "") else test(value, operand)


def _place(page: Page, asked: Any, version: str) -> int:
    """Where appended blocks go: at the end, where nothing is said."""
    match asked:
        case {"type": "start"} if version == NEWEST_VERSION:
            return 0
        case {"type": "end"} if version == NEWEST_VERSION:
            return len(page.blocks)
        case {"type": "after_block", "after_block": {"id": str(key)}} if version == NEWEST_VERSION:
            pass
        case str(key) if version != NEWEST_VERSION:
            pass
        case _ if asked is _ABSENT:
            return len(page.blocks)
        case _:
            _invalid("body.position" if version == NEWEST_VERSION else "body.after", "a place", asked)
    found = next((index for index, block in enumerate(page.blocks, 1) if block.id == key), None)
    return found if found is not None else _missing("block", key)


def _paged(
    items: Sequence[Item], size: Any, cursor: Any, where: str = "body"
) -> tuple[Sequence[Item], str | None]:
    """One page and the next one's cursor."""
    if isinstance(size, bool) or not isinstance(size, int):
        _invalid(f"{where}.page_size", "a number or `undefined`", size)
    if not 1 <= size <= PAGE_SIZE_MOST:
        _invalid(f"{where}.page_size", f"≥ `1` and ≤ `{PAGE_SIZE_MOST}`", size)
    start: int | None = 0
    if cursor is not None:
        start = next((index for index, each in enumerate(items) if each.id == cursor), None)
    if start is None:
        fail("validation_error", f"The start_cursor provided is invalid: {cursor}")
    end = start + size
    return items[start:end], items[end].id if len(items) > end else None


# ---------------------------------------------------------------- checks


def _invalid(where: str, what: str, sent: Any) -> NoReturn:
    shown = (
        "undefined" if sent is _ABSENT else json.dumps(sent, ensure_ascii=False, separators=(",", ":"))[:200]
    )
    part = where.split(".")[0].split("[")[0]
    fail("validation_error", f"{part} failed validation: {where} should be {what}, instead was `{shown}`.")


def _fix_one(where: str, names: Iterable[str]) -> NoReturn:
    lines = (f"{where}.{each} should be defined, instead was `undefined`." for each in names)
    fail("validation_error", "body failed validation. Fix one:\n" + "\n".join(lines))


def _missing(kind: str, key: str) -> NoReturn:
    fail(
        "object_not_found",
        f"Could not find {kind} with ID: {key}. Make sure the relevant pages and databases are shared with your integration.",
    )


def _refuse_trashed() -> NoReturn:
    fail(
        "validation_error",
        "Can't edit block that is archived. You must unarchive the block before editing.",
    )


def _defined(sent: Any, where: str) -> Any:
    return _invalid(where, "defined", sent) if sent is None else sent


def _object(sent: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(sent, dict):
        _invalid(where, "defined" if sent is _ABSENT else "an object", sent)
    return sent


def _only(sent: Mapping[str, Any], *names: str, where: str = "body") -> None:
    for name in sent:
        if name not in names:
            _invalid(f"{where}.{name}", "not present", sent[name])


def _check_list(sent: Any, where: str) -> None:
    if not isinstance(sent, list):
        _invalid(where, "defined" if sent is _ABSENT else "an array", sent)
    if len(sent) > LIST_MOST:
        _invalid(f"{where}.length", f"≤ `{LIST_MOST}`", len(sent))


def _check_string(sent: Any, where: str, most: int) -> None:
    if not isinstance(sent, str):
        _invalid(where, "defined" if sent is _ABSENT else "a string", sent)
    # The vendor counts as JavaScript does: a character beyond the basic plane is two.
    if (length := len(sent.encode("utf-16-le", "surrogatepass")) // 2) > most:
        _invalid(f"{where}.length", f"≤ `{most}`", length)


def _check_option(sent: Mapping[str, Any], where: str) -> None:
    _only(sent, "id", "name", "color", "description", where=where)
    if "name" not in sent and "id" not in sent:
        _fix_one(where, ("id", "name"))
    for part in ("id", "name"):
        if part in sent:
            _check_string(sent[part], f"{where}.{part}", OPTION_MOST)
    if "," in sent.get("name", ""):
        fail("validation_error", f"Invalid select option, commas not allowed: {sent['name']}")


def _is_option(option: Record, sent: Mapping[str, Any]) -> bool:
    part = "id" if "id" in sent else "name"
    return bool(option[part] == sent[part])


def _known_column(source: Source, key: str) -> Column:
    column = source.find(key)
    return (
        column
        if column is not None
        else fail("validation_error", f"Could not find property with name or id: {key}")
    )


# ---------------------------------------------------------------- answers written


def _error(code: str, message: str = "", **additional: Any) -> Answer:
    status = _STATUS_OF[code]
    body: Record = {"object": "error", "status": status, "code": code}
    body["message"] = message or _MESSAGE_OF.get(code, code)
    if additional:
        body["additional_data"] = additional
    return Answer(status, body)


def _listed(results: list[Record], cursor: str | None) -> Record:
    return {"object": "list", "results": results, "next_cursor": cursor, "has_more": cursor is not None}


def _trash(version: str, *, in_trash: bool) -> Record:
    return (
        {"in_trash": in_trash} if version == NEWEST_VERSION else {"archived": in_trash, "in_trash": in_trash}
    )


def _text(content: str, link: Any = None, annotations: Mapping[str, Any] = _PLAIN) -> Record:
    return {
        "type": "text",
        "text": {"content": content, "link": link},
        "annotations": {**_PLAIN, **annotations},
        "plain_text": content,
        "href": link["url"] if link else None,
    }


def _schema(source: Source) -> Record:
    told = {}
    for each in source.columns:
        config: Record = {"format": "number"} if each.type == "number" else {}
        if each.type in ("select", "status"):
            config["options"] = [dict(option) for option in each.options]
        if each.type == "status":
            config["groups"] = []
        told[each.name] = {
            "id": each.id,
            "name": each.name,
            "description": None,
            "type": each.type,
            each.type: config,
        }
    return told


def _stored(kind: str, value: Any) -> Any:
    """A value as a page tells it, also where none was ever set."""
    match kind:
        case "title" | "rich_text":
            return value or []
        case "checkbox":
            return bool(value)
        case "select" | "status" if value:
            return {name: value[name] for name in ("id", "name", "color")}
        case _:
            return value


def _plain(kind: str, value: Any) -> Any:
    """A value as people read it: text, option's name, date's start, number or yes and no."""
    match kind:
        case "title" | "rich_text":
            return "".join(each["plain_text"] for each in value or ())
        case "select" | "status":
            return value["name"] if value else None
        case "date":
            return value["start"] if value else None
        case "checkbox":
            return bool(value)
        case _:
            return value


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
