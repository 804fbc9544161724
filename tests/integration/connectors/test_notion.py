"""Notion's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.notion import SPEC, Columns, Credentials, Notion, Place, build
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
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
from refundflow.sandbox import notion as double
from refundflow.sandbox.base import Fault, How, Kind, Record, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError
from tests.support.world_http import VENDORS, WorldHttp, WorldWire

NAME = "notion"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 12345)
OTHER_CASE = mint_case_id(NOW, 12346)
STRANGER = "00000000-0000-4000-8000-000000000000"
SECOND = "1b2c3d4e-0000-4000-8000-000000000002"
TYPES = {
    "Name": "title",
    "RF case": "rich_text",
    "RF version": "number",
    "State": "select",
    "Report": "rich_text",
    "Order": "rich_text",
    "Amount": "number",
    "Currency": "select",
    "Asked": "date",
    "Reviewed": "checkbox",
}
WITHOUT_REPORT = {name: kind for name, kind in TYPES.items() if name != "Report"}
FIELDS = (
    ("Order", "#1042"),
    ("Amount", "42.50"),
    ("Currency", "EUR"),
    ("Asked", "2026-11-25"),
    ("Customer", "Ada *Lovelace* <b>& co</b> @everyone =1+1"),
)


def command(version: int = 1, *, record_id: str = "", **changes: Any) -> KeepRecord:
    step_key = mint_step_key(CASE, "notify", version)
    return replace(
        KeepRecord(
            step_key=step_key,
            key=wire_key(step_key, 1),
            case_id=CASE,
            title=f"Order #1042, state {version}",
            state="running",
            text=f"What happened up to {version}.",
            fields=FIELDS,
            version=version,
            record_id=record_id,
        ),
        **changes,
    )


class Workspace:
    """A practice workspace with one data source, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.world = World([double.Notion], clock=lambda: self.now, send=lambda *_: 200)
        self.lay_out(TYPES)
        self.notion = self.connect(data_source_id=double.DATA_SOURCE)

    def connect(self, **given: Any) -> Notion:
        base = {"token": Secret(double.TOKEN), "base_url": f"{VENDORS}/{NAME}"}
        return build(Credentials(**{**base, **given}), WorldWire(self.world))

    def lay_out(self, types: dict[str, Any]) -> None:
        source = {"id": double.DATA_SOURCE, "name": "Cases", "properties": types}
        self.seed(databases=[{"id": double.DATABASE, "data_sources": [source]}])

    def seed(self, **data: Any) -> Record:
        made: Record = self.world.seed({NAME: data})[NAME]
        return made

    def row(self, version: int, case: str = CASE, **more: Any) -> str:
        """A row of ours that is there already."""
        properties = {
            "Name": {"title": [{"text": {"content": "before"}}]},
            "RF case": {"rich_text": [{"text": {"content": case}}]},
            "RF version": {"number": version},
        }
        made: str = self.seed(pages=[{"properties": properties, **more}])["pages"][0]
        return made

    def settle(self, **data: Any) -> None:
        self.world.settle(NAME, data)

    def fault(self, operation: str, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.world.vendor(NAME).book.lines()]

    def book(self, effect: str) -> list[Record]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def shown(self, page_id: str) -> Record:
        """The row as people see it: the plain values of its columns."""
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.Notion)
        page = vendor.pages[page_id]
        columns = vendor.sources[page.source].columns
        return {c.name: double._plain(c.type, page.values.get(c.id)) for c in columns}

    def body(self, page_id: str) -> list[str]:
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.Notion)
        return [double._plain("rich_text", block.text) for block in vendor.pages[page_id].blocks]

    def keep(self, asked: KeepRecord) -> Outcome:
        """One try; a lost answer is what the flow makes of it."""
        try:
            return self.notion.keep_record(asked)
        except MaybeSentError as error:
            return Unknown(error.reason)

    def carry_out(self, asked: KeepRecord) -> tuple[Found, str]:
        """As the flow goes on: an Unknown is looked at, and sent again only after an absence that proves something."""
        said: Found = self.keep(asked)
        for _ in range(6):
            match said:
                case Unknown():
                    said = self.notion.find_keep_record(asked)
                case NotFound(conclusive_after_s=float() as wait_s):
                    self.now += timedelta(seconds=wait_s)
                    found = self.notion.find_keep_record(asked)
                    said = self.keep(asked) if isinstance(found, NotFound) else found
                case Retryable():
                    said = self.keep(asked)
                case _:
                    break
        return said, getattr(said, "reference", "")


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    workspace = Workspace()
    yield workspace
    workspace.world.close()


def code_of(outcome: Any) -> str:
    assert isinstance(outcome, Permanent | Retryable), outcome
    return outcome.code


# ---------------------------------------------------------------- the row


def test_a_case_has_one_row_that_moves_with_it(workspace: Workspace) -> None:
    first = workspace.notion.keep_record(command(1))
    assert isinstance(first, Done)
    assert first.detail.startswith("https://www.notion.so/")
    assert workspace.shown(first.reference) == {
        "Name": "Order #1042, state 1",
        "RF case": CASE,
        "RF version": 1,
        "State": "running",
        "Report": "What happened up to 1.\n\nCustomer: Ada *Lovelace* <b>& co</b> @everyone =1+1",
        "Order": "#1042",
        "Amount": 42.5,
        "Currency": "EUR",
        "Asked": "2026-11-25",
        "Reviewed": False,
    }
    moved = command(2, record_id=first.reference, state="complete", text="Done.", fields=(("Amount", "all"),))
    assert workspace.notion.keep_record(moved) == Done(
        first.reference, workspace_url(workspace, first.reference)
    )
    shown = workspace.shown(first.reference)
    assert (shown["RF version"], shown["State"], shown["Amount"]) == (2, "complete", None)
    assert shown["Report"] == "Done.\n\nAmount: all"
    assert workspace.effects == ["create_page", "update_page"]
    assert [line["reference"] for line in workspace.world.vendor(NAME).book.lines()] == [CASE, CASE]


def workspace_url(workspace: Workspace, page_id: str) -> str:
    vendor = workspace.world.vendor(NAME)
    assert isinstance(vendor, double.Notion)
    return str(vendor._shown(vendor.pages[page_id], double.VERSION)["url"])


def test_without_a_record_id_the_row_is_found_by_the_case(workspace: Workspace) -> None:
    workspace.row(7, OTHER_CASE)
    row = workspace.row(1)
    said = workspace.notion.keep_record(command(2))
    assert isinstance(said, Done)
    assert said.reference == row
    assert workspace.effects == ["update_page"]


def test_a_replay_changes_nothing(workspace: Workspace) -> None:
    said, row = workspace.carry_out(command(1))
    assert isinstance(said, Done)
    assert isinstance(workspace.notion.keep_record(command(1)), AlreadyDone)
    assert isinstance(workspace.notion.keep_record(command(1, record_id=row)), AlreadyDone)
    assert workspace.effects == ["create_page"]


def test_a_late_step_does_not_bring_an_older_state_back(workspace: Workspace) -> None:
    row = workspace.row(5)
    for asked in (command(4), command(4, record_id=row)):
        said = workspace.notion.keep_record(asked)
        assert isinstance(said, AlreadyDone)
        assert said == workspace.notion.find_keep_record(asked)
        assert said.reference == row
    assert workspace.effects == []


def test_what_people_add_of_their_own_stays(workspace: Workspace) -> None:
    row = workspace.row(1)
    workspace.settle(page=row, properties={"Reviewed": {"checkbox": True}})
    workspace.notion.keep_record(command(2, record_id=row))
    assert workspace.shown(row)["Reviewed"] is True


def test_a_long_report_and_odd_signs_arrive_whole(workspace: Workspace) -> None:
    words = "“Ünïcode” 😀 <@U1> [x](https://x.example)\n" * 150
    said, row = workspace.carry_out(command(1, text=words, fields=()))
    assert isinstance(said, Done)
    assert workspace.shown(row)["Report"] == words


def test_the_newest_version_is_a_change_of_the_header_alone(workspace: Workspace) -> None:
    for number, version in enumerate((SPEC.api_version, double.NEWEST_VERSION), 1):
        headers = {"Authorization": f"Bearer {double.TOKEN}", "Notion-Version": version}
        keeper = Notion(WorldHttp(workspace.world, f"{VENDORS}/{NAME}", headers), Place(double.DATA_SOURCE))
        case = mint_case_id(NOW, 900 + number)
        old, new = workspace.row(1, case), workspace.row(1, case)
        said = keeper.keep_record(command(2, case_id=case))
        assert isinstance(said, Done)
        assert said.reference == min(old, new)
        assert isinstance(keeper.find_keep_record(command(2, case_id=case)), Done)
        workspace.settle(page=said.reference, in_trash=True)
        assert (
            code_of(keeper.keep_record(command(3, case_id=case, record_id=said.reference))) == "record_gone"
        )


# ---------------------------------------------------------------- once, whatever happens on the way


@pytest.mark.parametrize("types", [TYPES, WITHOUT_REPORT], ids=["column", "page"])
@pytest.mark.parametrize(
    ("_case", "kind", "more"),
    [
        ("reply lost", Kind.LOST_REPLY, {}),
        ("request lost", Kind.LOST_REQUEST, {}),
        ("500 after the act", Kind.STATUS, {"status": 500, "is_after_effect": True}),
        ("503 without it", Kind.STATUS, {"status": 503}),
        ("HTML after the act", Kind.HTML, {"status": 200, "is_after_effect": True}),
        ("HTML without it", Kind.HTML, {"status": 502}),
        ("throttled", Kind.STATUS, {"status": 429}),
        ("a conflict", Kind.STATUS, {"status": 409}),
        ("overloaded", Kind.STATUS, {"status": 529}),
    ],
)
@pytest.mark.parametrize(
    "operation", ["create_page", "update_page", "append_blocks", "query_data_source", "get_page", "get_data_source", "list_blocks"]
)  # fmt: skip
def test_every_version_is_written_exactly_once(
    workspace: Workspace, operation: str, _case: str, kind: Kind, more: dict[str, Any], types: dict[str, str]
) -> None:
    workspace.lay_out(types)
    workspace.fault(operation, kind, **more)
    said, row = workspace.carry_out(command(1))
    assert isinstance(said, Done | AlreadyDone), said
    said, same = workspace.carry_out(command(2, record_id=row))
    assert isinstance(said, Done | AlreadyDone), said
    assert same == row
    in_page = [] if "Report" in types else ["append_block"]
    assert workspace.effects == ["create_page", *in_page, "update_page"]
    assert workspace.shown(row)["RF version"] == 2
    if in_page:
        assert [text.split("\n")[0] for text in workspace.body(row)] == [
            f"{CASE} · version 1 · running",
            f"{CASE} · version 2 · running",
        ]


@pytest.mark.parametrize(
    ("_case", "status", "outcome"),
    [
        ("throttled", 429, Retryable("throttled", "Notion asks us to slow down", 30.0)),
        ("overloaded", 529, Retryable("unavailable", "Notion is overloaded and did not take the call", 30.0)),
        ("a conflict", 409, Retryable("conflict", "somebody else wrote to Notion at the same moment")),
    ],
)
def test_a_call_that_was_not_taken_waits_as_long_as_notion_says(
    workspace: Workspace, _case: str, status: int, outcome: Outcome
) -> None:
    workspace.fault("create_page", Kind.STATUS, status=status)
    assert workspace.notion.keep_record(command()) == outcome
    assert workspace.effects == []


def test_the_vendors_own_wait_is_handed_on(workspace: Workspace) -> None:
    workspace.fault("update_page", Kind.STATUS, status=429, headers={"Retry-After": "75"})
    workspace.row(1)
    assert workspace.notion.keep_record(command(2)) == Retryable(
        "throttled", "Notion asks us to slow down", 75.0
    )


def test_a_row_that_the_index_does_not_show_yet_is_found_when_it_does(workspace: Workspace) -> None:
    workspace.seed(habits={"query_delay_s": 20})
    workspace.fault("create_page", Kind.LOST_REPLY)
    assert isinstance(workspace.keep(command()), Unknown)
    assert isinstance(workspace.notion.find_keep_record(command()), NotFound)
    workspace.now += timedelta(seconds=21)
    assert isinstance(workspace.notion.find_keep_record(command()), Done)
    assert workspace.effects == ["create_page"]


def test_an_absence_proves_nothing_before_two_minutes(workspace: Workspace) -> None:
    assert workspace.notion.find_keep_record(command()) == NotFound(120.0, "no row carries the case's id")


def test_a_row_made_twice_after_all_is_one_again_at_the_next_look(workspace: Workspace) -> None:
    # An index that is late beyond measure: the proof of absence was none.
    workspace.fault("create_page", Kind.SLOW_PENDING)
    assert isinstance(workspace.notion.keep_record(command(1)), Done)
    first = workspace.book("create_page")[0]["id"]
    workspace.now += timedelta(minutes=5)
    assert isinstance(workspace.notion.keep_record(command(1)), Done)
    second = workspace.book("create_page")[1]["id"]
    workspace.settle(page=first, is_indexed=True)
    assert isinstance(workspace.notion.find_keep_record(command(2)), NotFound)
    said = workspace.notion.keep_record(command(2))
    assert isinstance(said, Done)
    assert said.reference == first
    assert [line["id"] for line in workspace.book("trash_page")] == [second]
    assert workspace.effects == ["create_page", "create_page", "trash_page", "update_page"]
    # A step that was given the trashed one's id goes on with the one that stayed.
    said = workspace.notion.keep_record(command(3, record_id=second))
    assert isinstance(said, Done)
    assert said.reference == first


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (Kind.LOST_REPLY, {}),
        (Kind.LOST_REQUEST, {}),
        (Kind.STATUS, {"status": 500, "is_after_effect": True}),
        (Kind.STATUS, {"status": 429}),
        (Kind.REFUSE, {}),
    ],
)
def test_a_double_is_trashed_once_however_the_try_ends(
    workspace: Workspace, kind: Kind, more: dict[str, Any]
) -> None:
    rows = sorted((workspace.row(1), workspace.row(1)))
    workspace.fault("update_page", kind, **more)
    said, row = workspace.carry_out(command(2))
    assert isinstance(said, Done), said
    assert row == rows[0]
    assert [line["id"] for line in workspace.book("trash_page")] == [rows[1]]
    assert workspace.effects == ["trash_page", "update_page"]


def test_of_two_rows_the_older_is_kept_whatever_its_id(workspace: Workspace) -> None:
    rows = []
    for _ in range(64):  # ids are drawn: until the older row has the higher one
        rows = [workspace.row(1, OTHER_CASE)]
        workspace.now += timedelta(minutes=1)
        rows.append(workspace.row(1, OTHER_CASE))
        if rows[0] > rows[1]:
            break
        for row in rows:
            workspace.settle(page=row, in_trash=True)
    assert isinstance(workspace.notion.keep_record(command(2, case_id=OTHER_CASE)), Done)
    assert [line["id"] for line in workspace.book("trash_page")] == [rows[1]]


def test_three_rows_are_for_a_person(workspace: Workspace) -> None:
    for _ in range(3):
        workspace.row(1)
    assert code_of(workspace.notion.keep_record(command(2))) == "ambiguous"
    assert code_of(workspace.notion.find_keep_record(command(2))) == "ambiguous"
    assert workspace.effects == []


# ---------------------------------------------------------------- what a person did


def test_a_row_that_a_person_trashed_is_not_made_again(workspace: Workspace) -> None:
    row = workspace.row(1)
    workspace.settle(page=row, in_trash=True)
    asked = command(2, record_id=row)
    assert code_of(workspace.notion.keep_record(asked)) == "record_gone"
    assert code_of(workspace.notion.find_keep_record(asked)) == "record_gone"
    assert workspace.effects == []


def test_a_row_that_is_not_there_at_all_is_gone(workspace: Workspace) -> None:
    assert code_of(workspace.notion.keep_record(command(2, record_id=STRANGER))) == "record_gone"
    assert workspace.effects == []


def test_a_row_of_another_case_is_not_touched(workspace: Workspace) -> None:
    row = workspace.row(1, OTHER_CASE)
    assert code_of(workspace.notion.keep_record(command(2, record_id=row))) == "not_ours"
    assert workspace.effects == []


def test_a_row_whose_case_a_person_wiped_is_not_touched(workspace: Workspace) -> None:
    row = workspace.row(1)
    workspace.settle(page=row, properties={"RF case": {"rich_text": []}})
    assert code_of(workspace.notion.keep_record(command(2, record_id=row))) == "not_ours"
    assert workspace.effects == []


def test_columns_that_come_and_go_are_followed(workspace: Workspace) -> None:
    row = workspace.row(1)
    workspace.settle(data_source=double.DATA_SOURCE, properties={"Customer": "rich_text", "Amount": None})
    workspace.notion.keep_record(command(2, record_id=row))
    shown = workspace.shown(row)
    assert shown["Customer"] == "Ada *Lovelace* <b>& co</b> @everyone =1+1"
    assert shown["Report"] == "What happened up to 2.\n\nAmount: 42.50"


def test_without_one_of_our_columns_nothing_is_written(workspace: Workspace) -> None:
    workspace.settle(data_source=double.DATA_SOURCE, properties={"RF version": None})
    said = workspace.notion.keep_record(command())
    assert code_of(said) == "wrong_columns"
    assert isinstance(workspace.notion.find_keep_record(command()), Unknown)
    assert "'RF version' of type number" in workspace.notion.check().detail
    assert workspace.effects == []


# ---------------------------------------------------------------- where the rows are, and who may write


def test_the_fresh_practice_workspace_is_usable_with_its_own_title(workspace: Workspace) -> None:
    workspace.world.reset(NAME)
    notion = workspace.connect(database_id=double.DATABASE.replace("-", ""), title_property="Order")
    assert notion.columns == Columns("Order")
    assert notion.check().is_ok
    said = notion.keep_record(command())
    assert isinstance(said, Done)
    assert workspace.shown(said.reference)["Order"] == "Order #1042, state 1"
    assert workspace.body(said.reference) == [
        f"{CASE} · version 1 · running\nWhat happened up to 1.\n\nOrder: #1042\nAsked: 2026-11-25\n"
        "Customer: Ada *Lovelace* <b>& co</b> @everyone =1+1"
    ]


def test_a_database_with_two_data_sources_needs_a_name(workspace: Workspace) -> None:
    described = {"id": SECOND, "name": "Archive", "properties": TYPES}
    workspace.settle(database=double.DATABASE, add_data_source=described)
    assert (
        code_of(workspace.connect(database_id=double.DATABASE).keep_record(command())) == "wrong_data_source"
    )
    named = workspace.connect(database_id=double.DATABASE, data_source_name="Archive")
    assert isinstance(named.keep_record(command()), Done)
    assert workspace.book("create_page")[0]["target"]["data_source"] == SECOND


def test_a_refused_token_is_the_houses_fault(workspace: Workspace) -> None:
    stranger = workspace.connect(data_source_id=double.DATA_SOURCE, token=Secret("ntn_of-somebody-else"))
    assert code_of(stranger.keep_record(command())) == "unauthorised"
    assert isinstance(stranger.find_keep_record(command()), Unknown)
    health = stranger.check()
    assert not health.is_ok
    assert "REFUNDFLOW_NOTION_TOKEN" in health.detail
    assert workspace.effects == []


@pytest.mark.parametrize(("left", "version"), [(["read", "update"], 1), (["read", "insert"], 2), (["insert", "update"], 1)])  # fmt: skip
def test_a_missing_capability_is_the_houses_fault(
    workspace: Workspace, left: list[str], version: int
) -> None:
    if version == 2:
        workspace.row(1)
    workspace.seed(capabilities=left)
    assert code_of(workspace.notion.keep_record(command(version))) == "unauthorised"
    assert workspace.effects == []


def test_a_database_that_is_not_shared_hides_everything_and_proves_nothing(workspace: Workspace) -> None:
    row = workspace.row(1)
    workspace.settle(database=double.DATABASE, is_shared=False)
    for asked in (command(2), command(2, record_id=row)):
        assert code_of(workspace.notion.keep_record(asked)) == "object_not_found"
        assert isinstance(workspace.notion.find_keep_record(asked), Unknown)
    assert "share the database" in workspace.notion.check().detail
    assert workspace.effects == []


@pytest.mark.parametrize("code", ["validation_error", "invalid_request"])
def test_a_refusal_is_final_and_nothing_was_made(workspace: Workspace, code: str) -> None:
    workspace.fault("create_page", Kind.REFUSE, code=code)
    assert code_of(workspace.notion.keep_record(command())) == code
    assert workspace.effects == []


def test_a_query_that_gives_up_before_it_saw_all_rows_lets_nothing_be_written(workspace: Workspace) -> None:
    workspace.row(1)
    workspace.row(1)
    workspace.seed(habits={"query_most": 1})
    assert code_of(workspace.notion.keep_record(command(2))) == "unavailable"
    assert isinstance(workspace.notion.find_keep_record(command(2)), Unknown)
    assert workspace.effects == []


def test_a_check_reads_once_and_writes_nothing(workspace: Workspace) -> None:
    assert workspace.notion.check().is_ok
    assert workspace.asked == ["get_data_source"]
    assert workspace.effects == []
