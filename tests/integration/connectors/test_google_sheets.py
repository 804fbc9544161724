"""Google Sheets' connector with the practice vendor: what stands in the tab, and what the vendor's book says was done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.google_sheets import Credentials, GoogleSheets, build, claim_number
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import CaseId, mint_case_id, mint_step_key, wire_key
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.sandbox import google_sheets as double
from refundflow.sandbox.base import Fault, How, Kind, Record, World
from refundflow.settings import Secret
from refundflow.transport.base import Http, MaybeSentError, NotSentError, Request, Response
from tests.support.world_http import VENDORS, MemoryVault, WorldWire

NAME = "google-sheets"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
OTHER = mint_case_id(NOW, 54321)
HEADER = list(double.HEADER)


@dataclass
class Meddled:
    """A wire on which something else happens, once, just before a call with this method whose path ends so."""

    http: Http
    method: str
    ending: str
    what: Callable[[], object]
    is_over: bool = False

    def send(self, request: Request) -> Response:
        if not self.is_over and request.method == self.method and request.path.endswith(self.ending):
            self.is_over = True
            self.what()
        return self.http.send(request)


class Office:
    """A practice spreadsheet, the people who work in it, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.world = World([double.GoogleSheets], clock=lambda: self.now)
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.GoogleSheets)
        self.vendor = vendor
        self.vault = MemoryVault()
        self.sheets = self.connect()

    def connect(self, **changes: Any) -> GoogleSheets:
        credentials = Credentials(
            **{
                "service_account": Secret(json.dumps(dict(double.SERVICE_ACCOUNT))),
                "spreadsheet_id": double.SPREADSHEET_ID,
                "sheet": double.SHEET,
                "base_url": f"{VENDORS}/{NAME}",
                "token_url": f"{VENDORS}/{NAME}/token",
                **changes,
            }
        )
        return build(credentials, WorldWire(self.world, self.vault), lambda: self.now)

    def meddled(self, method: str, ending: str, what: Callable[[], object]) -> GoogleSheets:
        return replace(self.sheets, http=Meddled(self.sheets.http, method, ending, what))

    def by_hand(self, **move: Any) -> Record:
        return self.world.settle(NAME, move)[0]

    def habits(self, **habits: Any) -> None:
        self.world.seed({NAME: {"habits": habits}})

    def fault(self, kind: Kind, operation: str, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    @property
    def grid(self) -> list[list[Any]]:
        return self.vendor.grid()

    @property
    def effects(self) -> list[tuple[str, Any]]:
        return [
            (line["effect"], line["reference"])
            for line in self.vendor.book.lines()
            if line["effect"].endswith("_row")
        ]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def rows_of(self, case_id: str) -> list[list[Any]]:
        return [row for row in self.grid if row[:1] == [case_id]]


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.world.close()


def record(version: int = 1, case_id: str = CASE, **changes: Any) -> KeepRecord:
    step_key = mint_step_key(CaseId(case_id), "keep_record", version)
    return KeepRecord(
        **{
            "step_key": step_key,
            "key": wire_key(step_key, 1),
            "case_id": case_id,
            "title": "Order #1042",
            "state": "running",
            "text": f"This is how it stands: {version}.",
            "fields": (("Order", "1042"), ("Customer", '=HYPERLINK("https://evil.example")')),
            "version": version,
            **changes,
        }
    )


def shown(command: KeepRecord) -> list[Any]:
    values = [value for _, value in command.fields]
    return [command.case_id, command.version, command.state, command.title, *values, command.text]


def again(version: int, case_id: str = CASE, **changes: Any) -> KeepRecord:
    return record(version, case_id, record_id=case_id, **changes)


def code_of(outcome: Any) -> str:
    assert isinstance(outcome, Permanent | Retryable), outcome
    return outcome.code


# ---------------------------------------------------------------- one row a case


def test_a_case_has_one_row_from_its_first_version_to_its_last(office: Office) -> None:
    for command in (record(1), again(2), again(5, state="complete")):
        assert office.sheets.keep_record(command) == Done(CASE)
        assert office.sheets.find_keep_record(command) == Done(CASE)
        assert office.grid == [HEADER, shown(command)]
    assert office.effects == [("add_row", CASE), ("update_row", CASE), ("update_row", CASE)]


def test_customers_words_stay_texts(office: Office) -> None:
    command = record(1, title="=1+1", text="'0042\n@all")
    office.sheets.keep_record(command)
    office.sheets.keep_record(again(2, title="=1+1", text="1E5"))
    (row,) = office.rows_of(CASE)
    assert row[3:] == ["=1+1", "1042", '=HYPERLINK("https://evil.example")', "1E5"]
    formulas = [
        cell
        for tab in office.vendor.workbooks[double.SPREADSHEET_ID].tabs.values()
        for cell in tab.cells.values()
        if cell.formula
    ]
    assert formulas == []


def test_a_repeat_writes_nothing(office: Office) -> None:
    for command in (record(2), record(2), again(2), again(1)):
        office.sheets.keep_record(command)
    assert office.sheets.keep_record(again(1)) == AlreadyDone(CASE, "the row shows version 2")
    assert office.sheets.find_keep_record(again(1)) == AlreadyDone(CASE, "the row shows version 2")
    assert office.effects == [("add_row", CASE)]
    assert office.grid == [HEADER, shown(record(2))]


def test_a_blank_tab_gets_its_header_once(office: Office) -> None:
    office.world.seed(
        {NAME: {"spreadsheets": [{"id": "another-spreadsheet", "sheets": [{"title": "Log2026x"}]}]}}
    )
    sheets = office.connect(spreadsheet_id="another-spreadsheet", sheet="log2026X")
    assert sheets.keep_record(record(1)) == Done(CASE)
    assert sheets.keep_record(record(1, OTHER)) == Done(OTHER)
    assert office.vendor.grid("Log2026x", "another-spreadsheet") == [
        ["Case", "Version", "State", "Title", "Order", "Customer", "Report"],
        shown(record(1)),
        shown(record(1, OTHER)),
    ]


def test_rows_are_made_below_everything_that_people_wrote_and_in_a_full_grid(office: Office) -> None:
    office.by_hand(edit={"range": "C1000", "values": [["a note at the end"]]})
    assert office.sheets.keep_record(record(1)) == Done(CASE)
    assert len(office.grid) == 1001
    assert office.grid[999] == ["", "", "a note at the end"]
    assert office.sheets.find_keep_record(record(1)) == Done(CASE)


# ---------------------------------------------------------------- people in the tab


@pytest.mark.parametrize(
    "move",
    [
        {"sort": "A", "descending": True},
        {"sort": "D"},
        {"insert_rows": {"at": 2, "count": 3}},
        {"move_row": {"from": 2, "to": 9}},
        {"delete_rows": {"at": 3}},
        {"edit": {"range": "H2:J2", "values": [["checked", "by", "Ada"]]}},
        {"edit": {"range": "B2", "values": [["soon"]]}},
    ],
    ids=lambda move: next(iter(move)),
)
@pytest.mark.parametrize("moves_metadata", [True, False])
def test_the_row_is_found_whatever_people_do_to_the_rows(
    office: Office, move: dict[str, Any], moves_metadata: bool
) -> None:
    office.habits(sort_moves_metadata=moves_metadata)
    cases = [CASE, OTHER, mint_case_id(NOW, 7)]
    for case_id in cases:
        office.sheets.keep_record(record(1, case_id))
    office.by_hand(**move)
    there = [case_id for case_id in cases if office.rows_of(case_id)]
    for case_id in there:
        assert office.sheets.keep_record(again(2, case_id)) == Done(case_id)
    for case_id in there:
        (row,) = office.rows_of(case_id)
        assert row[:7] == shown(record(2, case_id))
    assert len(office.effects) == len(cases) + len(there)


def test_what_people_write_beside_the_row_stays(office: Office) -> None:
    office.sheets.keep_record(record(1))
    office.by_hand(edit={"range": "H2", "values": [["checked"]]})
    office.sheets.keep_record(again(2))
    assert office.grid[1] == [*shown(record(2)), "checked"]


def test_a_row_that_a_person_removed_is_not_made_anew(office: Office) -> None:
    office.sheets.keep_record(record(1))
    office.by_hand(delete_rows={"at": 2})
    for command in (again(2), record(2)):
        assert code_of(office.sheets.keep_record(command)) == "record_gone"
    assert code_of(office.sheets.find_keep_record(again(2))) == "record_gone"
    assert office.grid == [HEADER]
    assert office.effects == [("add_row", CASE)]


def test_a_row_that_a_person_copied_is_shown_to_a_person(office: Office) -> None:
    office.sheets.keep_record(record(1))
    office.by_hand(edit={"range": "A9:B9", "values": [[CASE, 1]]})
    for said in (office.sheets.keep_record(again(2)), office.sheets.find_keep_record(again(2))):
        assert said == Permanent(
            "ambiguous", f"the rows 2, 9 all carry {CASE}: keep one, then send this step again"
        )
    assert office.effects == [("add_row", CASE)]


@pytest.mark.parametrize(
    ("move", "owner"),
    [
        ({"sort": "A", "descending": True}, OTHER),
        ({"insert_rows": {"at": 2}}, ""),
        ({"move_row": {"from": 2, "to": 3}}, OTHER),
    ],
    ids=["sort", "insert", "move"],
)
def test_a_write_under_which_the_rows_were_moved_is_told(
    office: Office, move: dict[str, Any], owner: str
) -> None:
    for case_id in sorted((CASE, OTHER)):
        office.sheets.keep_record(record(1, case_id))
    assert office.grid[1][0] == CASE
    said = office.meddled("PUT", "", lambda: office.by_hand(**move)).keep_record(again(2))
    assert code_of(said) == "row_moved"
    assert isinstance(said, Permanent)
    assert repr(owner) in said.reason
    # Nobody's case id was touched, so every row can still be told and put right.
    assert sorted(row[0] for row in office.grid[1:] if row[0]) == sorted((CASE, OTHER))


def test_rows_of_other_writers_never_move_ours(office: Office) -> None:
    office.sheets.keep_record(record(1))
    meddled = office.meddled("PUT", "", lambda: office.sheets.keep_record(record(1, OTHER)))
    assert meddled.keep_record(again(2)) == Done(CASE)
    assert office.grid == [HEADER, shown(record(2)), shown(record(1, OTHER))]


@pytest.mark.parametrize(
    ("move", "code"),
    [
        ({"rename": "Old log"}, "tab_missing"),
        ({"protection": "theirs"}, "tab_protected"),
        ({"sharing": "reader"}, "unauthorised"),
        ({"sharing": "none"}, "unauthorised"),
    ],
    ids=str,
)
def test_a_spreadsheet_that_we_may_not_write_in_says_what_to_do(
    office: Office, move: dict[str, Any], code: str
) -> None:
    office.sheets.keep_record(record(1, OTHER))
    office.by_hand(**move)
    before = office.vendor.book.lines()
    for command in (record(1), again(2, OTHER)):
        assert code_of(office.sheets.keep_record(command)) == code
    assert office.vendor.book.lines() == before


def test_a_spreadsheet_that_is_not_there_says_so(office: Office) -> None:
    strange = office.connect(spreadsheet_id="no-such-spreadsheet")
    assert code_of(strange.keep_record(record(1))) == "NOT_FOUND"
    assert isinstance(strange.find_keep_record(record(1)), Unknown)
    assert not strange.check().is_ok


def test_the_check_names_the_tab(office: Office) -> None:
    assert office.sheets.check().is_ok
    office.by_hand(rename="Old log")
    health = office.sheets.check()
    assert (health.is_ok, health.detail) == (False, "the spreadsheet has no tab 'Log'; there are 'Old log'")


# ---------------------------------------------------------------- bad nights


def write_of(command: KeepRecord) -> str:
    return "update_values" if command.record_id else "batch_update"


@pytest.mark.parametrize("command", [record(2), again(2)], ids=["new", "rewritten"])
class TestWhateverHappensThereIsOneRow:
    @pytest.fixture(autouse=True)
    def _first(self, office: Office, command: KeepRecord) -> None:
        if command.record_id:
            office.sheets.keep_record(record(1))

    def finish(self, office: Office, command: KeepRecord) -> None:
        """As the flow goes on: a look, and a repeat where nothing is there."""
        if not isinstance(office.sheets.find_keep_record(command), Done):
            assert office.sheets.keep_record(command) == Done(CASE)
        assert office.grid == [HEADER, shown(command)]
        assert office.effects == [("add_row", CASE), ("update_row", CASE)][: len(office.effects)]
        assert len(office.effects) == (2 if command.record_id else 1)

    def test_lost_reply(self, office: Office, command: KeepRecord) -> None:
        office.fault(Kind.LOST_REPLY, write_of(command))
        with pytest.raises(MaybeSentError):
            office.sheets.keep_record(command)
        assert office.sheets.find_keep_record(command) == Done(CASE)
        assert isinstance(office.sheets.keep_record(command), AlreadyDone)
        self.finish(office, command)

    def test_lost_request(self, office: Office, command: KeepRecord) -> None:
        office.fault(Kind.LOST_REQUEST, write_of(command))
        with pytest.raises(MaybeSentError):
            office.sheets.keep_record(command)
        assert office.sheets.find_keep_record(command) == (
            NotFound(0.0, "the row shows version 1")
            if command.record_id
            else NotFound(200.0, "no row of the tab carries the case id")
        )
        self.finish(office, command)

    @pytest.mark.parametrize("kind", [Kind.STATUS, Kind.HTML])
    def test_an_answer_that_lies_about_what_happened(
        self, office: Office, command: KeepRecord, kind: Kind
    ) -> None:
        office.fault(kind, write_of(command), status=500, is_after_effect=True)
        assert isinstance(office.sheets.keep_record(command), Unknown)
        assert office.sheets.find_keep_record(command) == Done(CASE)
        self.finish(office, command)

    @pytest.mark.parametrize("status", [500, 503, 504])
    def test_an_error_before_the_act(self, office: Office, command: KeepRecord, status: int) -> None:
        office.fault(Kind.STATUS, write_of(command), status=status)
        assert isinstance(office.sheets.keep_record(command), Unknown)
        self.finish(office, command)

    def test_a_page_instead_of_an_answer(self, office: Office, command: KeepRecord) -> None:
        office.fault(Kind.HTML, write_of(command), status=200)
        assert isinstance(office.sheets.keep_record(command), Unknown)
        self.finish(office, command)

    @pytest.mark.parametrize("operation", ["get_values", "write"])
    def test_too_many_calls(self, office: Office, command: KeepRecord, operation: str) -> None:
        operation = write_of(command) if operation == "write" else operation
        office.fault(Kind.STATUS, operation, status=429)
        assert code_of(office.sheets.keep_record(command)) == "throttled"
        self.finish(office, command)

    def test_a_quota_error_that_comes_as_a_403(self, office: Office, command: KeepRecord) -> None:
        office.fault(Kind.REFUSE, write_of(command), code="rateLimitExceeded")
        assert code_of(office.sheets.keep_record(command)) == "throttled"
        self.finish(office, command)

    def test_a_refusal_that_we_do_not_know(self, office: Office, command: KeepRecord) -> None:
        office.fault(Kind.REFUSE, write_of(command), code="INVALID_ARGUMENT")
        said = office.sheets.keep_record(command)
        assert said == Permanent("INVALID_ARGUMENT", "Google says: Request contains an invalid argument.")
        self.finish(office, command)

    @pytest.mark.parametrize("code", ["PERMISSION_DENIED", "SERVICE_DISABLED"])
    def test_an_account_that_is_not_let_in(self, office: Office, command: KeepRecord, code: str) -> None:
        office.fault(Kind.REFUSE, write_of(command), code=code)
        assert code_of(office.sheets.keep_record(command)) == "unauthorised"
        self.finish(office, command)

    @pytest.mark.parametrize("kind", [Kind.STATUS, Kind.HTML, Kind.LOST_REQUEST])
    def test_a_look_that_fails(self, office: Office, command: KeepRecord, kind: Kind) -> None:
        before = office.vendor.book.lines()
        office.fault(kind, "get_values", times=2)
        if kind is Kind.LOST_REQUEST:
            for call in (office.sheets.keep_record, office.sheets.find_keep_record):
                with pytest.raises(MaybeSentError):
                    call(command)
        else:
            assert code_of(office.sheets.keep_record(command)) == "unavailable"
            assert isinstance(office.sheets.find_keep_record(command), Unknown)
        assert office.vendor.book.lines() == before
        self.finish(office, command)


# ---------------------------------------------------------------- two writers


def test_two_writers_at_once_make_one_row(office: Office) -> None:
    """The second one comes between the first one's look and its write."""
    meddled = office.meddled("POST", ":batchUpdate", lambda: office.sheets.keep_record(record(2)))
    assert code_of(meddled.keep_record(record(1))) == "overtaken"
    assert office.grid == [HEADER, shown(record(2))]
    assert office.sheets.keep_record(record(1)) == AlreadyDone(CASE, "the row shows version 2")
    assert office.effects == [("add_row", CASE)]


def test_a_row_made_between_our_two_reads_is_brought_to_our_version(office: Office) -> None:
    meddled = office.meddled("GET", double.SPREADSHEET_ID, lambda: office.sheets.keep_record(record(1)))
    assert meddled.keep_record(record(2)) == Done(CASE)
    assert office.asked.count("get_spreadsheet") == 2
    assert office.effects == [("add_row", CASE), ("update_row", CASE)]
    assert office.grid == [HEADER, shown(record(2))]


def test_many_writers_of_one_case_make_one_row(office: Office) -> None:
    said: list[Outcome] = []
    start = threading.Barrier(8)

    def write() -> None:
        sheets = office.connect()
        start.wait()
        outcome = sheets.keep_record(record(1))
        while isinstance(outcome, Retryable):
            outcome = sheets.keep_record(record(1))
        said.append(outcome)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Done) for outcome in said) == 1
    assert sum(isinstance(outcome, AlreadyDone) for outcome in said) == 7
    assert office.effects == [("add_row", CASE)]


def test_a_vendor_that_does_not_refuse_a_taken_id_is_found_out(office: Office) -> None:
    office.habits(refuses_taken_id=False)
    meddled = office.meddled("POST", ":batchUpdate", lambda: office.sheets.keep_record(record(1)))
    assert isinstance(meddled.keep_record(record(1)), Unknown)
    assert code_of(office.sheets.find_keep_record(record(1))) == "ambiguous"
    assert code_of(office.sheets.keep_record(again(2))) == "ambiguous"


def claim_all(office: Office, claims: Mapping[int, str]) -> None:
    """Claims as they were left behind, by number."""
    tag = {"metadataKey": "refundflow", "location": {"sheetId": 0}, "visibility": "DOCUMENT"}
    made = [
        {"createDeveloperMetadata": {"developerMetadata": {**tag, "metadataId": n, "metadataValue": case_id}}}
        for n, case_id in claims.items()
    ]
    path = f"/v4/spreadsheets/{double.SPREADSHEET_ID}:batchUpdate"
    assert office.sheets.http.send(Request("POST", path, "test", json={"requests": made})).status == 200


def test_another_case_whose_claim_has_the_same_id_is_gone_around(office: Office) -> None:
    claim_all(office, {claim_number(CASE, ()): OTHER})
    assert office.sheets.keep_record(record(1)) == Done(CASE)
    assert office.rows_of(CASE) == [shown(record(1))]


def test_claims_never_fill_the_tab(office: Office) -> None:
    """Of 1,050 claims 21 more would be too many."""
    old = {n: mint_case_id(NOW + timedelta(seconds=n), n) for n in range(1, 1_051)}
    claim_all(office, old)
    cases = [mint_case_id(NOW + timedelta(hours=1, seconds=n), n) for n in range(30)]
    for case_id in cases:
        assert office.sheets.keep_record(record(1, case_id)) == Done(case_id)
    assert office.effects == [("add_row", case_id) for case_id in cases]
    freed = [line["reference"] for line in office.vendor.book.lines("delete_metadata")]
    assert freed == list(old.values())[:500]


# ---------------------------------------------------------------- tokens


def test_all_workers_share_one_token_until_it_is_old(office: Office) -> None:
    office.sheets.keep_record(record(1))
    office.connect().keep_record(again(2))
    assert office.asked.count("token") == 1
    assert set(office.vault.kept) == {NAME}
    office.now += timedelta(minutes=59, seconds=30)
    assert office.connect().keep_record(again(3)) == Done(CASE)
    office.now += timedelta(minutes=30)
    assert office.sheets.keep_record(again(4)) == Done(CASE)
    assert office.asked.count("token") == 2


def test_a_token_that_was_ended_is_replaced_at_once(office: Office) -> None:
    office.sheets.keep_record(record(1))
    office.by_hand(tokens="expired")
    assert office.sheets.keep_record(again(2)) == Done(CASE)
    assert office.asked.count("token") == 2


def test_a_deleted_key_sends_nothing(office: Office) -> None:
    office.by_hand(key="deleted")
    for call in (office.sheets.keep_record, office.sheets.find_keep_record):
        with pytest.raises(NotSentError, match="answered 400 to our credentials"):
            call(record(1))
    assert office.grid == [HEADER]
    assert set(office.asked) == {"token"}


def test_a_token_that_is_refused_everywhere_is_the_houses_fault(office: Office) -> None:
    office.fault(Kind.REFUSE_AUTH, "get_values", times=2)
    assert code_of(office.sheets.keep_record(record(1))) == "unauthorised"
    assert office.effects == []
    health = office.sheets.check()
    assert health.is_ok
