"""Google Sheets: a log that people look at, one row a case. Nothing is ever decided by what it says.

Sheets API v4, described by Google's discovery document, revision 20261019; guides at
https://developers.google.com/workspace/sheets/api (read 2026-11-25). A service account, with which the spreadsheet is shared
as an editor; its access tokens are kept for all workers.

Columns: case id, version, state, title, the command's fields in their order, report. What stands to the right of them is left
alone. People sort the rows, insert some, drag some: a row has no address that lasts, and the case id in column A decides which
one is ours. It is also the record's id.

Quirks
- There are no keys against repetition. A row is made by one batch, which is applied whole or not at all: the row below all
  others, and developer metadata whose id is made of the case id. Ids are unique in a spreadsheet, so a second batch for the same
  case is refused whole, however late it comes. The vendor only says that ids are unique; should it give another id instead
  of refusing, the answer says so, and we look.
- Metadata is trusted for that alone. It stays with a row that is moved, but what a sort does to it is written nowhere, so it
  hangs on the tab and never says where a row is. What it may hold is limited (30,000 characters a tab, from memory), so the
  claims of the oldest cases are taken away in time.
- `appendCells` writes below the last row with anything in it and moves no other. `values.append` stops at the first blank
  line, and inserting a row would move others from under a colleague's write.
- A change is written to the row's address, and somebody may move the rows between our look and our write. The write leaves
  column A as it is and has it sent back: it then tells on whose row it fell.
- Only `RAW` values and typed cells are sent. A customer who is called `=IMPORTXML(…)` stays a text.
- Some quota errors come as a 403.
- A spreadsheet holds 10 million cells: a new tab a year, into which the rows of open cases are moved.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

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

_DOC: Final = "https://developers.google.com/workspace/sheets/api/reference/rest/v4"

SPEC: Final = Spec(
    platform="google-sheets",
    api_version="v4",
    base_url="https://sheets.googleapis.com",
    operations={
        Capability.KEEP_RECORD: Operation(
            "POST /v4/spreadsheets/{spreadsheetId}:batchUpdate, "
            "PUT /v4/spreadsheets/{spreadsheetId}/values/{range}",
            Idempotency.LOOKUP,
            f"{_DOC}/spreadsheets/batchUpdate",
        ),
        Capability.CHECK: Operation(
            "GET /v4/spreadsheets/{spreadsheetId}", Idempotency.READ, f"{_DOC}/spreadsheets/get"
        ),
    },
    # 60 reads and 60 writes a minute are allowed to one user, which a service account is; all of ours might be reads.
    rate_per_s=0.9,
    burst=5,
    # Cells hold the report and so the customer; the assertion is as good as a password for an hour.
    redact=frozenset({"assertion", "values"}),
    # A new row takes three calls, four with tidying up: all of them end within a step's lease.
    read_s=12.0,
)

TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105  (an address)
SCOPE: Final = "https://www.googleapis.com/auth/spreadsheets"
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_LIFE_S: Final = 3_600

#: A batch whose answer was lost may run for three minutes (from memory). After that a row that is not there was never made;
#: before it, a repeat would still be refused by its claim, as far as that is promised.
_SETTLED_S: Final = 200.0
#: A colleague's row is there at once; the same look would do now, but the call is not repeated in itself.
_OVERTAKEN_S: Final = 2.0

_CLAIM_KEY: Final = "refundflow"
#: Above so many claims the oldest go, long before their characters (28 each) fill the tab. Those that stay belong to more cases
#: than can be begun while a lost batch may still run.
_MOST_CLAIMS: Final = 600
_CLAIMS_A_TIME: Final = 250

#: A cell holds 50,000 characters; half of that, because Google may count some of them double.
_CELL_CHARS: Final = 24_000

#: What A1 notation needs and a path may hold as it is.
_IN_A_PATH: Final = "!':"
_FIRST_COLUMNS: Final = ("Case", "Version", "State", "Title")
_LAST_COLUMN: Final = "Report"
_TAB_FIELDS: Final = (
    "spreadsheetId,properties.title,"
    "sheets(properties(sheetId,title),developerMetadata(metadataId,metadataKey,metadataValue))"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """`service_account`: the whole JSON key of a service account; `spreadsheet_id`: from the spreadsheet's address, between `/d/`
    and `/edit`; `sheet`: the name of the tab. The spreadsheet is shared with the account's `client_email` as an editor.

    Raises ValueError for what cannot work.
    """

    service_account: Secret
    spreadsheet_id: str
    sheet: str = "Log"
    base_url: str = SPEC.base_url
    token_url: str = TOKEN_URL

    def __post_init__(self) -> None:
        read_service_account(self.service_account)
        if not re.fullmatch(r"[A-Za-z0-9_-]{10,200}", self.spreadsheet_id):
            raise ValueError("spreadsheet_id is the part of the spreadsheet's address between /d/ and /edit")


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who signs. `key_id`: which of the account's keys it is; may be empty."""

    email: str
    key_id: str
    key: rsa.RSAPrivateKey = field(repr=False)


def read_service_account(given: Secret) -> ServiceAccount:
    """The account of a JSON key. Raises ValueError, without a word of the key in it."""
    try:
        document = json.loads(given.reveal())
    except ValueError:
        document = None
    match document:
        case {"type": "service_account", "client_email": str(email), "private_key": str(pem), **rest}:
            key_id = rest.get("private_key_id")
            return ServiceAccount(email, key_id if isinstance(key_id, str) else "", read_key(pem))
        case _:
            raise ValueError("service_account is the JSON key of a service account, as Google gave it")


def read_key(pem: str) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("private_key in service_account is no RSA key (PEM)")
    return key


def now_utc() -> datetime:
    return datetime.now(UTC)


def build(credentials: Credentials, wire: Wire, now: Callable[[], datetime] = now_utc) -> GoogleSheets:
    """The connector on a wire. `now`: when an assertion is signed."""
    account = read_service_account(credentials.service_account)

    def http(base_url: str, **more: Any) -> Http:
        return wire.http(
            platform=SPEC.platform,
            base_url=base_url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            redact=SPEC.redact,
            **more,
        )

    # There is no refresh token, but each fetch needs an assertion of its own, signed at that moment.
    tokens = wire.refreshed_tokens(
        http(credentials.token_url),
        lambda _: token_request(account, now()),
        shared_as=SPEC.platform,
        refresh_token="",
    )
    return GoogleSheets(
        http(credentials.base_url, tokens=tokens), credentials.spreadsheet_id, credentials.sheet
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a case. `number`: as people count, at the moment of the look; `version`: -1 where the cell holds none."""

    number: int
    version: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at the tab. `rows`: those that carry the case id; `is_blank`: there is nothing at all in the first two columns."""

    rows: tuple[Row, ...]
    is_blank: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Metadata of ours. `number`: its id; `sheet_id`: the tab that it hangs on."""

    number: int
    case_id: str
    sheet_id: int


@dataclass(frozen=True, slots=True)
class Tab:
    """Our tab. `title`: the spreadsheet's; `claims`: of all tabs, because ids are unique in the whole spreadsheet."""

    sheet_id: int
    title: str
    claims: tuple[Claim, ...]

    @property
    def own(self) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.sheet_id == self.sheet_id)

    def has(self, case_id: str) -> bool:
        return any(claim.case_id == case_id for claim in self.own)


@dataclass(frozen=True, slots=True)
class GoogleSheets:
    """One tab of one spreadsheet. `sheet`: the tab's name."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    spreadsheet_id: str
    sheet: str

    def check(self) -> Health:
        """Reads the tabs. That we may write too is only known from writing."""
        match self._tab("google_sheets.check"):
            case Tab(title=title):
                return Health(True, f"Google Sheets: the tab {self.sheet!r} of {title!r} can be read")
            case failure:
                return Health(False, failure.reason)

    def keep_record(self, command: KeepRecord) -> Outcome:
        seen = self._look(command.case_id, "google_sheets.keep_record")
        if isinstance(seen, Seen) and not seen.rows and not command.record_id:
            tab = self._tab("google_sheets.keep_record")
            if not isinstance(tab, Tab):
                return nothing_written(tab)
            if not tab.has(command.case_id):
                return self._make(command, tab, seen)
            # A claim is made with its row: either that came to be after our look, or a person removed it.
            seen = self._look(command.case_id, "google_sheets.keep_record")
        if not isinstance(seen, Seen):
            return nothing_written(seen)
        match seen.rows:
            case ():
                return record_gone(command.case_id, self.sheet)
            case (row,) if row.version >= command.version:
                return AlreadyDone(command.case_id, f"the row shows version {row.version}")
            case (row,):
                request = update_request(self.spreadsheet_id, self.sheet, command, row)
                return read_update(self.http.send(request), command.case_id, row)
            case rows:
                return ambiguous(command.case_id, rows)

    def find_keep_record(self, command: KeepRecord) -> Found:
        """Looks for the case's row, and at the version that it shows."""
        seen = self._look(command.case_id, "google_sheets.find_keep_record")
        if not isinstance(seen, Seen):
            return not_seen(seen)
        match seen.rows:
            case () if command.record_id:
                return record_gone(command.case_id, self.sheet)
            case ():
                return NotFound(_SETTLED_S, "no row of the tab carries the case id")
            case (row,) if row.version == command.version:
                return Done(command.case_id)
            case (row,) if row.version > command.version:
                return AlreadyDone(command.case_id, f"the row shows version {row.version}")
            case (row,):
                # Writing the same once more leaves the same row, so nothing has to be waited for.
                return NotFound(0.0, f"the row shows version {row.version}")
            case rows:
                return ambiguous(command.case_id, rows)

    def _look(self, case_id: str, operation: str) -> Seen | NoAnswer:
        return read_rows(self.http.send(rows_request(self.spreadsheet_id, self.sheet, operation)), case_id)

    def _tab(self, operation: str) -> Tab | NoAnswer:
        return read_tab(self.http.send(tab_request(self.spreadsheet_id, operation)), self.sheet)

    def _make(self, command: KeepRecord, tab: Tab, seen: Seen) -> Outcome:
        """Adds the case's row and its claim, at once or not at all."""
        if len(tab.own) > _MOST_CLAIMS:
            # Tidying up: whether it worked shows the next time, and the row is made all the same.
            self.http.send(release_request(self.spreadsheet_id, oldest(tab.own)))
        number = claim_number(command.case_id, tab.claims)
        request = create_request(self.spreadsheet_id, tab, number, command, has_header=not seen.is_blank)
        match read_create(self.http.send(request), command.case_id, number):
            case Permanent() as refusal:
                # Google's words for a taken id are not written anywhere, so the id itself is asked for.
                return read_claim(self.http.send(claim_request(self.spreadsheet_id, number)), number, refusal)
            case outcome:
                return outcome


# ---------------------------------------------------------------- tokens


def token_request(account: ServiceAccount, now: datetime) -> Request:
    """Changes a signed assertion for a token (https://developers.google.com/identity/protocols/oauth2/service-account)."""
    form = [("grant_type", _GRANT_TYPE), ("assertion", sign(account, now))]
    return Request("POST", "", "google_sheets.token", form=form)


def sign(account: ServiceAccount, now: datetime) -> str:
    """A JWT (RFC 7519, RS256). Its audience is Google whatever the address it is sent to: nobody else can use it."""
    issued = int(now.timestamp())
    header = {"alg": "RS256", "typ": "JWT", **({"kid": account.key_id} if account.key_id else {})}
    claims = {
        "iss": account.email,
        "scope": SCOPE,
        "aud": TOKEN_URL,
        "iat": issued,
        "exp": issued + _TOKEN_LIFE_S,
    }
    signed = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
    return f"{signed}.{_base64(account.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ---------------------------------------------------------------- requests


def rows_request(spreadsheet_id: str, sheet: str, operation: str) -> Request:
    """Case ids and versions of the whole tab."""
    return Request(
        "GET",
        values_path(spreadsheet_id, f"{quoted(sheet)}!A:B"),
        operation,
        params=(("majorDimension", "ROWS"), ("valueRenderOption", "UNFORMATTED_VALUE")),
    )


def tab_request(spreadsheet_id: str, operation: str) -> Request:
    return Request("GET", f"/v4/spreadsheets/{spreadsheet_id}", operation, params=(("fields", _TAB_FIELDS),))


def create_request(
    spreadsheet_id: str, tab: Tab, number: int, command: KeepRecord, *, has_header: bool
) -> Request:
    """The row and its claim. A tab that is still blank gets its header with the first row."""
    rows = [row_of(command)] if has_header else [header_of(command), row_of(command)]
    claim = {
        "metadataId": number,
        "metadataKey": _CLAIM_KEY,
        "metadataValue": command.case_id,
        "location": {"sheetId": tab.sheet_id},
        "visibility": "DOCUMENT",
    }
    append = {
        "sheetId": tab.sheet_id,
        "rows": [{"values": [{"userEnteredValue": typed(cell)} for cell in row]} for row in rows],
        "fields": "userEnteredValue",
    }
    return batch_request(
        spreadsheet_id,
        "google_sheets.keep_record",
        [{"createDeveloperMetadata": {"developerMetadata": claim}}, {"appendCells": append}],
    )


def release_request(spreadsheet_id: str, claims: tuple[Claim, ...]) -> Request:
    return batch_request(
        spreadsheet_id,
        "google_sheets.release_claims",
        [
            {
                "deleteDeveloperMetadata": {
                    "dataFilter": {"developerMetadataLookup": {"metadataId": claim.number}}
                }
            }
            for claim in claims
        ],
    )


def batch_request(spreadsheet_id: str, operation: str, requests: list[dict[str, Any]]) -> Request:
    path = f"/v4/spreadsheets/{spreadsheet_id}:batchUpdate"
    return Request("POST", path, operation, json={"requests": requests})


def claim_request(spreadsheet_id: str, number: int) -> Request:
    path = f"/v4/spreadsheets/{spreadsheet_id}/developerMetadata/{number}"
    return Request("GET", path, "google_sheets.read_claim")


def update_request(spreadsheet_id: str, sheet: str, command: KeepRecord, row: Row) -> Request:
    """Column A is sent as null, which leaves it as it is, and comes back with the rest of the row."""
    cells = [None, *row_of(command)[1:]]
    area = f"{quoted(sheet)}!A{row.number}:{letters(len(cells))}{row.number}"
    return Request(
        "PUT",
        values_path(spreadsheet_id, area),
        "google_sheets.keep_record",
        params=(
            ("valueInputOption", "RAW"),
            ("includeValuesInResponse", "true"),
            ("responseValueRenderOption", "UNFORMATTED_VALUE"),
        ),
        json={"range": area, "majorDimension": "ROWS", "values": [cells]},
    )


def values_path(spreadsheet_id: str, area: str) -> str:
    return f"/v4/spreadsheets/{spreadsheet_id}/values/{quote(area, safe=_IN_A_PATH)}"


def quoted(sheet: str) -> str:
    """A tab's name in A1 notation."""
    return "'" + sheet.replace("'", "''") + "'"


def letters(number: int) -> str:
    """The name of a column, counted from 1."""
    name = ""
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def row_of(command: KeepRecord) -> list[str | int]:
    texts = (command.state, command.title, *(value for _, value in command.fields), command.text)
    return [command.case_id, command.version, *(cut(text) for text in texts)]


def header_of(command: KeepRecord) -> list[str | int]:
    return [*_FIRST_COLUMNS, *(name for name, _ in command.fields), _LAST_COLUMN]


def cut(text: str) -> str:
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"


def typed(cell: str | int) -> dict[str, str | int]:
    """A cell that is what it is: a text beginning with `=` is no formula, one of digits no number."""
    return {"numberValue": cell} if isinstance(cell, int) else {"stringValue": cell}


def claim_number(case_id: str, claims: tuple[Claim, ...]) -> int:
    """The metadata id of a case (1 to 2^31 - 1): the same for every writer, and none that another case has."""
    taken = {claim.number for claim in claims}
    return next(number for number in claim_numbers(case_id) if number not in taken)


def claim_numbers(case_id: str) -> Iterator[int]:
    for attempt in itertools.count():
        digest = hashlib.sha256(f"{case_id}:{attempt}".encode()).digest()
        yield 1 + int.from_bytes(digest[:8]) % (2**31 - 1)


def oldest(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """The claims to be taken away. Case ids sort by the time at which the case was opened."""
    return tuple(sorted(claims, key=lambda claim: claim.case_id)[:_CLAIMS_A_TIME])


# ---------------------------------------------------------------- answers

_WHOLE_COLUMNS: Final = re.compile(r"!A1:B\d+$")


def read_rows(response: Response, case_id: str) -> Seen | NoAnswer:
    """The answer must begin with the first row: row numbers are counted from it."""
    match response.status, response.json:
        case 200, {"range": str(area), **rest} if _WHOLE_COLUMNS.search(area):
            rows = rest.get("values", [])
        case _:
            return read_failure(response)
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return unreadable(response)
    ours = tuple(
        Row(number, read_version(row[1:]))
        for number, row in enumerate(rows, 1)
        if row and isinstance(row[0], str) and row[0].strip() == case_id
    )
    return Seen(ours, is_blank=not any(rows))


def read_version(cells: list[Any]) -> int:
    """What the second column says. A person may have written over it: then any version is newer."""
    match cells:
        case [bool(), *_]:
            return -1
        case [int(version), *_]:
            return version
        case [Decimal() as version, *_] if version == version.to_integral_value():
            return int(version)
        case [str(text), *_] if re.fullmatch(r"[0-9]{1,15}", text.strip()):
            return int(text)
        case _:
            return -1


def read_tab(response: Response, sheet: str) -> Tab | NoAnswer:
    match response.status, response.json:
        case 200, {"spreadsheetId": str(), "sheets": [*sheets], **rest}:
            titled = {_title(each): each for each in sheets}
        case _:
            return read_failure(response)
    # Ranges are read without regard to capitals, so the tab is found in the same way.
    ours = next((each for title, each in titled.items() if title.casefold() == sheet.casefold()), None)
    if ours is None:
        there = ", ".join(repr(title) for title in titled if title)[:200]
        return Permanent("tab_missing", f"the spreadsheet has no tab {sheet!r}; there are {there or 'none'}")
    claims = tuple(claim for each in sheets for claim in _claims(each))
    return Tab(_sheet_id(ours), _title(rest), claims)


def _title(titled: Any) -> str:
    match titled:
        case {"properties": {"title": str(title)}}:
            return title
        case _:
            return ""


def _sheet_id(sheet: Any) -> int:
    """The first tab's is 0, and Google leaves out what is 0 here and there."""
    match sheet:
        case {"properties": {"sheetId": int(number)}}:
            return number
        case _:
            return 0


def _claims(sheet: Any) -> Iterator[Claim]:
    entries = sheet.get("developerMetadata") if isinstance(sheet, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"metadataId": int(number), "metadataKey": str(key), "metadataValue": str(case_id)} if (
                key == _CLAIM_KEY
            ):
                yield Claim(number, case_id, _sheet_id(sheet))


def read_create(response: Response, case_id: str, number: int) -> Outcome:
    """Done only where the claim has the id that was asked for: with another one it kept nobody out."""
    match response.status, response.json:
        case 200, {
            "replies": [{"createDeveloperMetadata": {"developerMetadata": {"metadataId": int(given)}}}, *_]
        }:
            if given == number:
                return Done(case_id)
            return Unknown("Google gave the row's claim another id, so a second row was not kept out")
        case _:
            return read_failure(response)


def read_claim(response: Response, number: int, refusal: Permanent) -> Retryable | Permanent:
    """Why a row was not made: its claim is taken, or what `refusal` says."""
    match response.status, response.json:
        case 200, {"metadataId": int(taken)} if taken == number:
            return Retryable("overtaken", "another writer claimed the row in the same moment", _OVERTAKEN_S)
        case 404, {"error": {}}:
            return refusal
        case _:
            return nothing_written(read_failure(response), or_else=refusal)


def read_update(response: Response, case_id: str, row: Row) -> Outcome:
    match response.status, response.json:
        case 200, {"updatedData": {"values": [[str(owner), *_], *_]}} if owner.strip() == case_id:
            return Done(case_id)
        case 200, {"updatedData": {"values": [[owner, *_], *_]}}:
            return Permanent(
                "row_moved",
                f"somebody moved the rows while row {row.number} was written: what was meant for {case_id} fell on the row "
                f"of {str(owner)[:60]!r}, whose first column was left as it is. Put that row right (File, Version history), "
                "then send this step again",
            )
        case _:
            return read_failure(response)


def record_gone(case_id: str, sheet: str) -> Permanent:
    return Permanent(
        "record_gone",
        f"the row of {case_id} is no longer in the tab {sheet!r}: a person removed it or changed its first column",
    )


def ambiguous(case_id: str, rows: tuple[Row, ...]) -> Permanent:
    """People write in the tab too, so which of the rows may go is theirs to say."""
    numbers = ", ".join(str(row.number) for row in rows[:20])
    return Permanent(
        "ambiguous", f"the rows {numbers} all carry {case_id}: keep one, then send this step again"
    )


def nothing_written(failure: NoAnswer, *, or_else: Permanent | None = None) -> Retryable | Permanent:
    """A read that failed before anything was written. `or_else`: what is said in place of a refusal of the read."""
    match failure:
        case Unknown(reason=reason):
            return Retryable("unavailable", f"nothing was written: {reason}")
        case Permanent() if or_else is not None:
            return or_else
        case _:
            return failure


def not_seen(failure: NoAnswer) -> Retryable | Unknown:
    """A look that was refused: a no to the question is no word about the effect."""
    match failure:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Google Sheets, status {response.status}")


# ---------------------------------------------------------------- errors


def read_failure(response: Response) -> NoAnswer:
    """What an answer means that is not the one hoped for. A 400 is Google's no to the whole call; a 5xx may come after the
    act.
    """
    match response.status, response.json:
        case 429, _:
            return throttled(response)
        case 403, {"error": dict(error)} if _reasons(error) & QUOTA_REASONS:
            return throttled(response)
        case 401, _:
            return UNAUTHENTICATED
        case 403, {"error": {"message": str(told)}}:
            return Retryable("unauthorised", f"{FORBIDDEN} (Google says: {told[:200]})")
        case 403, _:
            return Retryable("unauthorised", FORBIDDEN)
        case 400 | 404, {"error": {"message": str(told), **rest}}:
            return read_refusal(response.status, told, rest.get("status"))
        case _:
            return unreadable(response)


def read_refusal(status: int, told: str, word: Any) -> Permanent:
    for words, code, advice in REFUSALS:
        if words in told:
            return Permanent(code, f"{advice} (Google says: {told[:200]})")
    if status == 404:
        return Permanent("NOT_FOUND", f"{NOT_FOUND} (Google says: {told[:200]})")
    return Permanent(
        word if isinstance(word, str) and word else "INVALID_ARGUMENT", f"Google says: {told[:200]}"
    )


def throttled(response: Response) -> Retryable:
    return Retryable("throttled", "Google asks us to slow down", response.retry_after_s)


def _reasons(error: Mapping[str, Any]) -> set[str]:
    """Why, in the newer form of an error and in the older one."""
    entries = [
        entry
        for name in ("details", "errors")
        if isinstance(entries := error.get(name), list)
        for entry in entries
    ]
    return {
        reason
        for entry in entries
        if isinstance(entry, dict) and isinstance(reason := entry.get("reason"), str)
    }


UNAUTHENTICATED: Final = Retryable(
    "unauthorised", "Google refused the access token: see that the service account and its key still exist"
)
FORBIDDEN: Final = (
    "Google does not let the service account in: share the spreadsheet with its client_email as an editor, and switch the "
    "Sheets API on in its project"
)
NOT_FOUND: Final = "there is no such spreadsheet: see REFUNDFLOW_GOOGLE_SHEETS_SPREADSHEET_ID"

#: Quota errors that come as a 403.
QUOTA_REASONS: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})

#: What a refusal means to people: words of its message, our code, what to do. Google promises no wording; a refusal that is not
#: here is told in Google's own.
REFUSALS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "Unable to parse range",
        "tab_missing",
        "the tab was renamed or removed: see REFUNDFLOW_GOOGLE_SHEETS_SHEET",
    ),
    ("No grid with id", "tab_missing", "the tab was removed: see REFUNDFLOW_GOOGLE_SHEETS_SHEET"),
    ("protected cell", "tab_protected", "let the service account edit the tab's protected cells"),
    ("exceeds grid limits", "tab_too_small", "the tab has too few columns or rows: add some"),
    (
        "number of cells in the workbook",
        "spreadsheet_full",
        "the spreadsheet is full: begin a new one, and move the rows of open cases into it",
    ),
)
