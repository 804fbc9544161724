"""Notion: what a row is made of, how it is found and kept single, and what each answer means."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.notion import (
    ERRORS,
    RESTRICTED,
    SPEC,
    UNAUTHORISED,
    Columns,
    Credentials,
    Notion,
    Place,
    build,
    fit,
    rich_text,
    split,
    units,
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
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Response
from refundflow.transport.http import RequestsHttp, RequestsWire, _record, record_exchanges
from refundflow.transport.pacing import LocalPacer
from tests.support.fake_http import FakeHttp, FakeWire, answer

CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.notify.3")
SOURCE = "1b2c3d4e-0000-4000-8000-000000000001"
DATABASE = "1b2c3d4e-0000-4000-8000-0000000000db"
PAGE = "5f6e7d8c-0000-4000-8000-000000000001"
OTHER = "5f6e7d8c-0000-4000-8000-000000000002"
THIRD = "5f6e7d8c-0000-4000-8000-000000000003"
URL = "https://www.notion.so/RF-1"
COMMAND = KeepRecord(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    title="Order #1042",
    state="attention",
    text="One refund needs a person.",
    fields=(("Amount", "42.50"), ("Customer", "Ada <b>*Lovelace*</b> @everyone"), ("Gateway", "card")),
    version=3,
)
BY_ID = replace(COMMAND, record_id=PAGE)
TYPES = {
    "Name": "title",
    "RF case": "rich_text",
    "RF version": "number",
    "State": "select",
    "Amount": "number",
    "Customer": "rich_text",
}
REPORTED = {**TYPES, "Report": "rich_text"}
REPORT = "One refund needs a person.\n\nGateway: card"
ABSENT = NotFound(120.0, "no row carries the case's id")
FIND = f"POST /v1/data_sources/{SOURCE}/query"
TABLE = f"GET /v1/data_sources/{SOURCE}"


def notion(*answers: Any, place: Place | None = None) -> tuple[Notion, FakeHttp]:
    vendor = FakeHttp(*answers)
    return Notion(vendor, place or Place(SOURCE)), vendor


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": {"content": content}}


def table(types: dict[str, str] = REPORTED, **more: Any) -> Response:
    columns = {name: {"id": name[:2], "type": kind, kind: {}} for name, kind in types.items()}
    described = {"id": SOURCE, "title": [{"plain_text": "Cancellations"}], "properties": columns}
    return answer(200, {"object": "data_source", **described, **more})


def page(
    version: Any = 3, page_id: str = PAGE, case: str = CASE, at: str = "2026-11-25T12:00:00.000Z", **more: Any
) -> dict[str, Any]:
    return {
        "object": "page",
        "id": page_id,
        "created_time": at,
        "created_by": {"object": "user", "id": "bot"},
        "parent": {"type": "data_source_id", "data_source_id": SOURCE, "database_id": DATABASE},
        "archived": False,
        "in_trash": False,
        "properties": {
            "RF case": {"id": "a", "type": "rich_text", "rich_text": [{"plain_text": case[:4]}, {"plain_text": case[4:]}]},
            "RF version": {"id": "b", "type": "number", "number": version},
        },
        "url": URL,
        **more,
    }  # fmt: skip


def rows(*results: Any, **more: Any) -> Response:
    return answer(
        200, {"object": "list", "results": list(results), "has_more": False, "next_cursor": None, **more}
    )


def error(status: int, code: str, message: str = "Bad.", headers: dict[str, str] | None = None) -> Response:
    return answer(status, {"object": "error", "status": status, "code": code, "message": message}, headers)


def paragraph(content: str) -> dict[str, Any]:
    return {"object": "block", "type": "paragraph", "paragraph": {"rich_text": [{"plain_text": content}]}}


class TestDeclaration:
    def test_it_keeps_records_by_looking_before_a_repeat(self) -> None:
        assert {c: o.idempotency for c, o in SPEC.operations.items()} == {
            Capability.KEEP_RECORD: Idempotency.LOOKUP,
            Capability.CHECK: Idempotency.READ,
        }

    def test_the_longest_act_ends_within_a_steps_lease(self) -> None:
        assert 9 * (SPEC.connect_s + SPEC.read_s) < 90

    def test_the_wire_is_made_with_the_token_and_the_version(self) -> None:
        wire = FakeWire()
        made = build(Credentials(Secret("ntn_1"), DATABASE, base_url="https://notion.example/"), wire)
        (asked,) = wire.made
        assert asked["base_url"] == "https://notion.example"
        assert asked["headers"] == {"Authorization": "Bearer ntn_1", "Notion-Version": "2025-09-03"}
        assert (made.place, made.columns) == (Place(DATABASE), Columns())

    def test_columns_may_have_other_names(self) -> None:
        made = build(
            Credentials(
                Secret("ntn_1"),
                SOURCE,
                title_property="Order",
                case_property="Case",
                version_property="V",
                state_property="Stand",
                text_property="Bericht",
            ),
            FakeWire(),
        )
        assert made.columns == Columns("Order", "Case", "V", "Stand", "Bericht")

    @pytest.mark.parametrize(
        ("_case", "given", "words"),
        [
            ("no place", {}, "data_source_id or database_id is needed"),
            ("an address", {"database_id": "https://notion.so/x"}, "database_id is 32 hexadecimal digits"),
            ("a path", {"data_source_id": "../../users/me"}, "data_source_id is 32 hexadecimal digits"),
            ("one name twice", {"data_source_id": SOURCE, "text_property": "State"}, "a name of its own"),
            ("no name", {"data_source_id": SOURCE, "case_property": ""}, "a name of its own"),
        ],
    )
    def test_settings_that_cannot_work_are_refused(
        self, _case: str, given: dict[str, str], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            Credentials(Secret("ntn_1"), **given)

    def test_an_id_is_taken_with_and_without_hyphens(self) -> None:
        for given in (DATABASE, DATABASE.replace("-", ""), DATABASE.upper()):
            assert Credentials(Secret("ntn_1"), database_id=given).database_id == given


class TestMaking:
    def test_a_row_is_looked_for_and_then_made_with_all_it_shows(self) -> None:
        keeper, vendor = notion(table(), rows(), answer(200, page()))
        assert keeper.keep_record(COMMAND) == Done(PAGE, URL)
        assert vendor.calls == [TABLE, FIND, "POST /v1/pages"]
        assert vendor.requests[1].json == {
            "filter": {"property": "RF case", "rich_text": {"equals": CASE}},
            "page_size": 10,
        }
        assert vendor.requests[2].json == {
            "parent": {"type": "data_source_id", "data_source_id": SOURCE},
            "properties": {
                "Name": {"title": [text("Order #1042")]},
                "RF case": {"rich_text": [text(CASE)]},
                "RF version": {"number": 3},
                "State": {"select": {"name": "attention"}},
                "Amount": {"number": Decimal("42.50")},
                "Customer": {"rich_text": [text("Ada <b>*Lovelace*</b> @everyone")]},
                "Report": {"rich_text": [text(REPORT)]},
            },
        }

    def test_without_a_column_for_it_the_report_is_one_block_of_the_page(self) -> None:
        keeper, vendor = notion(table(TYPES), rows(), answer(200, page()))
        assert keeper.keep_record(COMMAND) == Done(PAGE, URL)
        assert vendor.requests[2].json["children"] == [
            {
                "type": "paragraph",
                "paragraph": {"rich_text": [text(f"{CASE} · version 3 · attention\n"), text(REPORT)]},
            }
        ]
        assert "Report" not in vendor.requests[2].json["properties"]

    def test_a_report_column_of_another_type_is_left_alone(self) -> None:
        keeper, vendor = notion(table({**TYPES, "Report": "url"}), rows(), answer(200, page()))
        keeper.keep_record(replace(COMMAND, fields=(("Report", "x"),)))
        assert "Report" not in vendor.requests[2].json["properties"]
        assert (
            "Report: x"
            in vendor.requests[2].json["children"][0]["paragraph"]["rich_text"][1]["text"]["content"]
        )

    def test_no_field_takes_the_place_of_our_own_columns(self) -> None:
        keeper, vendor = notion(table(), rows(), answer(200, page()))
        keeper.keep_record(replace(COMMAND, text="", fields=(("State", "paid"), ("RF version", "9"))))
        sent = vendor.requests[2].json["properties"]
        assert (sent["State"], sent["RF version"]) == ({"select": {"name": "attention"}}, {"number": 3})
        assert sent["Report"] == {"rich_text": [text("State: paid\nRF version: 9")]}

    def test_a_value_that_does_not_fit_goes_into_the_report_and_its_column_is_emptied(self) -> None:
        types = {**REPORTED, "Due": "date", "Total": "formula"}
        keeper, vendor = notion(table(types), rows(), answer(200, page()))
        values = (("Amount", "42.50 EUR"), ("Customer", ""), ("Due", "soon"), ("Total", "7"))
        keeper.keep_record(replace(COMMAND, text="", fields=values))
        sent = vendor.requests[2].json["properties"]
        assert (sent["Amount"], sent["Customer"], sent["Due"]) == (
            {"number": None},
            {"rich_text": []},
            {"date": None},
        )
        assert "Total" not in sent
        assert sent["Report"] == {"rich_text": [text("Amount: 42.50 EUR\nDue: soon\nTotal: 7")]}

    def test_only_the_databases_id_is_known(self) -> None:
        database = {"object": "database", "id": DATABASE, "data_sources": [{"id": SOURCE, "name": "Cases"}]}
        keeper, vendor = notion(
            answer(200, database), table(), rows(), answer(200, page()), place=Place("", DATABASE)
        )
        assert keeper.keep_record(COMMAND) == Done(PAGE, URL)
        assert vendor.calls == [f"GET /v1/databases/{DATABASE}", TABLE, FIND, "POST /v1/pages"]

    @pytest.mark.parametrize(
        ("_case", "response", "outcome"),
        [
            ("another version", answer(200, page(version=2)), Unknown("Notion's answer does not show the row as it was written")),
            ("another case", answer(200, page(case="RF-0")), Unknown("Notion's answer does not show the row as it was written")),
            ("in the trash", answer(200, page(in_trash=True)), Unknown("Notion's answer does not show the row as it was written")),
            ("no properties", answer(200, {"object": "page", "id": PAGE}), Unknown("unreadable answer from Notion, status 200")),
            ("an id that is none", answer(200, page(page_id="../me")), Unknown("unreadable answer from Notion, status 200")),
            ("created, which Notion never says", answer(201, page()), Unknown("unreadable answer from Notion, status 201")),
            ("throttled", error(429, "rate_limited", headers={"Retry-After": "75"}), Retryable("throttled", "Notion asks us to slow down", 75.0)),
            ("throttled by a front", answer(429, "<html>"), Retryable("throttled", "Notion asks us to slow down")),
            ("overloaded", error(529, "service_overload", headers={"Retry-After": "5"}),
             Retryable("unavailable", "Notion is overloaded and did not take the call", 5.0)),
            ("a conflict", error(409, "conflict_error"), Retryable("conflict", "somebody else wrote to Notion at the same moment")),
            ("a 409 of somebody else", answer(409, "no"), Unknown("unreadable answer from Notion, status 409")),
            ("a token that is none", error(401, "unauthorized"), UNAUTHORISED),
            ("no right to insert", error(403, "restricted_resource"), RESTRICTED),
            ("a value refused", error(400, "validation_error", "State is expected to be status."),
             Permanent("validation_error", "Notion cannot take a value, a column or an id as it is (State is expected to be status.)")),
            ("not shared", error(404, "object_not_found", ""), ERRORS[404, "object_not_found"]),
            ("a code with a strange status", error(500, "validation_error"), Unknown("unreadable answer from Notion, status 500")),
            ("a code that we do not know", error(400, "moon_phase"), Unknown("unreadable answer from Notion, status 400")),
            ("server error", error(500, "internal_server_error"), Unknown("unreadable answer from Notion, status 500")),
            ("unavailable", error(503, "service_unavailable"), Unknown("unreadable answer from Notion, status 503")),
            ("gateway timeout", error(504, "gateway_timeout"), Unknown("unreadable answer from Notion, status 504")),
            ("HTML", answer(200, "<html>"), Unknown("unreadable answer from Notion, status 200")),
            ("empty", answer(200, ""), Unknown("unreadable answer from Notion, status 200")),
            ("null", answer(200, b"null"), Unknown("unreadable answer from Notion, status 200")),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("before", [(), (page(version=2),)], ids=["made", "brought up"])
    def test_answers_to_the_write(
        self, before: tuple[Any, ...], _case: str, response: Response, outcome: Outcome
    ) -> None:
        keeper, vendor = notion(table(), rows(*before), response)
        assert keeper.keep_record(COMMAND) == outcome
        assert len(vendor.requests) == 3

    @pytest.mark.parametrize("known", sorted(ERRORS))
    def test_no_error_of_the_table_is_read_as_done(self, known: tuple[int, str]) -> None:
        meaning = ERRORS[known]
        keeper, _ = notion(table(), rows(), error(*known, message=""))
        assert keeper.keep_record(COMMAND) == meaning

    def test_what_a_refusal_says_is_cut(self) -> None:
        keeper, _ = notion(table(), rows(), error(400, "validation_error", "x" * 900))
        said = keeper.keep_record(COMMAND)
        assert isinstance(said, Permanent)
        assert said.reason.count("x") == 300


class TestBringingUp:
    def test_a_row_is_brought_to_the_whole_state_in_one_call(self) -> None:
        keeper, vendor = notion(table(), answer(200, page(version=2)), answer(200, page()))
        assert keeper.keep_record(BY_ID) == Done(PAGE, URL)
        assert vendor.calls == [TABLE, f"GET /v1/pages/{PAGE}", f"PATCH /v1/pages/{PAGE}"]
        assert list(vendor.requests[2].json) == ["properties"]
        assert set(vendor.requests[2].json["properties"]) == {*TYPES, "Report"}

    @pytest.mark.parametrize("by_id", [True, False])
    @pytest.mark.parametrize("blank", [2, 2.0, None, -4])
    def test_a_lower_version_or_none_is_written_over(self, blank: Any, by_id: bool) -> None:
        seen = answer(200, page(version=blank)) if by_id else rows(page(version=blank))
        keeper, _ = notion(table(), seen, answer(200, page()))
        assert keeper.keep_record(BY_ID if by_id else COMMAND) == Done(PAGE, URL)

    @pytest.mark.parametrize("version", [3, 3.0])
    def test_a_row_that_shows_the_version_is_done_already(self, version: float) -> None:
        keeper, vendor = notion(table(), answer(200, page(version=version)))
        assert keeper.keep_record(BY_ID) == AlreadyDone(PAGE, URL)
        assert vendor.calls == [TABLE, f"GET /v1/pages/{PAGE}"]

    def test_a_row_that_shows_a_higher_version_is_left_as_it_is(self) -> None:
        for command, seen in ((BY_ID, answer(200, page(version=4))), (COMMAND, rows(page(version=4)))):
            keeper, vendor = notion(table(), seen)
            said = AlreadyDone(PAGE, "left as it is: the row shows the newer version 4")
            assert keeper.keep_record(command) == said
            assert len(vendor.requests) == 2

    @pytest.mark.parametrize(
        ("_case", "response", "how"),
        [
            ("deleted", error(404, "object_not_found"), "is not there any more"),
            ("in the trash", answer(200, page(in_trash=True)), "is in the trash"),
            ("archived, by the older name", answer(200, page(archived=True, in_trash=None)), "is in the trash"),
            ("moved to another data source",
             answer(200, page(parent={"type": "data_source_id", "data_source_id": OTHER})), "was moved out of the data source"),
            ("moved under a page", answer(200, page(parent={"type": "page_id", "page_id": OTHER})), "was moved out of the data source"),
        ],
    )  # fmt: skip
    def test_a_record_that_a_person_took_away_is_not_made_again(
        self, _case: str, response: Response, how: str
    ) -> None:
        said = Permanent("record_gone", f"the row {PAGE} of case {CASE} {how}; no other is made for it")
        for act in (Notion.keep_record, Notion.find_keep_record):
            keeper, vendor = notion(table(), response, rows())
            assert act(keeper, BY_ID) == said
            assert vendor.calls == [TABLE, f"GET /v1/pages/{PAGE}", FIND]

    def test_where_the_record_was_the_trashed_one_of_two_the_other_is_kept(self) -> None:
        keeper, vendor = notion(
            table(),
            answer(200, page(in_trash=True)),
            rows(page(1, OTHER)),
            answer(200, page(3, OTHER)),
        )
        assert keeper.keep_record(BY_ID) == Done(OTHER, URL)
        assert vendor.calls[-1] == f"PATCH /v1/pages/{OTHER}"

    @pytest.mark.parametrize(("carried", "told"), [("RF-9", "RF-9"), ("", "no case")])
    def test_a_record_of_another_case_is_not_touched(self, carried: str, told: str) -> None:
        for act in (Notion.keep_record, Notion.find_keep_record):
            keeper, vendor = notion(table(), answer(200, page(2, case=carried)))
            assert act(keeper, BY_ID) == Permanent(
                "not_ours", f"the row {PAGE} carries {told} in 'RF case', not {CASE}"
            )
            assert len(vendor.requests) == 2

    def test_an_id_that_is_a_path_stays_one_segment(self) -> None:
        keeper, vendor = notion(table(), error(400, "validation_error"))
        keeper.keep_record(replace(COMMAND, record_id="../users/me?x"))
        assert vendor.requests[1].path == "/v1/pages/..%2Fusers%2Fme%3Fx"


class TestReportInThePage:
    LIST = f"GET /v1/blocks/{PAGE}/children"
    APPEND = f"PATCH /v1/blocks/{PAGE}/children"
    WRITE = f"PATCH /v1/pages/{PAGE}"

    def test_it_is_appended_before_the_version_is_written(self) -> None:
        older = paragraph(f"{CASE} · version 2 · running\nIt runs.")
        keeper, vendor = notion(
            table(TYPES),
            answer(200, page(version=2)),
            rows(older, {"object": "block", "type": "divider"}),
            rows(paragraph("new")),
            answer(200, page()),
        )
        assert keeper.keep_record(BY_ID) == Done(PAGE, URL)
        assert vendor.calls[2:] == [self.LIST, self.APPEND, self.WRITE]
        assert vendor.requests[2].params == (("page_size", "100"),)
        assert vendor.requests[3].json == {
            "children": [
                {
                    "type": "paragraph",
                    "paragraph": {"rich_text": [text(f"{CASE} · version 3 · attention\n"), text(REPORT)]},
                }
            ]
        }
        assert set(vendor.requests[4].json["properties"]) == set(TYPES)

    def test_after_a_broken_off_try_it_is_found_and_not_appended_again(self) -> None:
        keeper, vendor = notion(
            table(TYPES),
            answer(200, page(version=2)),
            rows(paragraph("notes of a person"), has_more=True, next_cursor="c2"),
            rows(paragraph(f"{CASE} · version 3 · attention\nOne refund…")),
            answer(200, page()),
        )
        assert keeper.keep_record(BY_ID) == Done(PAGE, URL)
        assert vendor.calls[2:] == [self.LIST, self.LIST, self.WRITE]
        assert vendor.requests[3].params == (("page_size", "100"), ("start_cursor", "c2"))

    def test_a_longer_version_is_not_taken_for_it(self) -> None:
        keeper, vendor = notion(
            table(TYPES),
            answer(200, page(version=2)),
            rows(paragraph(f"{CASE} · version 30 · running\n")),
            rows(paragraph("new")),
            answer(200, page()),
        )
        keeper.keep_record(BY_ID)
        assert self.APPEND in vendor.calls

    def test_a_page_full_of_other_things_is_told_to_a_person(self) -> None:
        more = rows(paragraph("x"), has_more=True, next_cursor="c")
        keeper, vendor = notion(table(TYPES), answer(200, page(version=2)), more, more)
        said = keeper.keep_record(BY_ID)
        assert isinstance(said, Permanent)
        assert (said.code, "'Report'" in said.reason) == ("page_full", True)
        assert vendor.is_drained

    def test_without_any_words_nothing_is_appended(self) -> None:
        keeper, vendor = notion(table(TYPES), answer(200, page(version=2)), answer(200, page()))
        assert keeper.keep_record(replace(BY_ID, text="", fields=())) == Done(PAGE, URL)
        assert vendor.calls[2:] == [self.WRITE]

    @pytest.mark.parametrize(
        ("_case", "response", "outcome"),
        [
            ("server error", error(500, "internal_server_error"),
             Retryable("unavailable", "could not look before the write: unreadable answer from Notion, status 500")),
            ("no cursor", rows(paragraph("x"), has_more=True),
             Retryable("unavailable", "could not look before the write: Notion has more blocks and does not say where to read on")),
            ("throttled", error(429, "rate_limited"), Retryable("throttled", "Notion asks us to slow down")),
        ],
    )  # fmt: skip
    def test_blocks_that_cannot_be_read_let_nothing_be_written(
        self, _case: str, response: Response, outcome: Outcome
    ) -> None:
        keeper, vendor = notion(table(TYPES), answer(200, page(version=2)), response)
        assert keeper.keep_record(BY_ID) == outcome
        assert vendor.calls[2:] == [self.LIST]

    @pytest.mark.parametrize(
        ("response", "outcome"),
        [
            (error(500, "internal_server_error"), Unknown("unreadable answer from Notion, status 500")),
            (rows(), Unknown("unreadable answer from Notion, status 200")),
            (error(409, "conflict_error"), ERRORS[409, "conflict_error"]),
        ],
    )
    def test_an_append_that_is_not_confirmed_leaves_the_version_unwritten(
        self, response: Response, outcome: Outcome
    ) -> None:
        keeper, vendor = notion(table(TYPES), answer(200, page(version=2)), rows(), response)
        assert keeper.keep_record(BY_ID) == outcome
        assert vendor.calls[2:] == [self.LIST, self.APPEND]


class TestDoubles:
    def test_the_longest_act_there_is_has_nine_calls(self) -> None:
        source = {"object": "database", "data_sources": [{"id": SOURCE, "name": "A"}]}
        keeper, vendor = notion(
            answer(200, source),
            table(TYPES),
            answer(200, page(in_trash=True)),
            rows(page(1, OTHER), page(1, THIRD)),
            answer(200, page(1, THIRD, in_trash=True)),
            rows(paragraph("x"), has_more=True, next_cursor="c"),
            rows(),
            rows(paragraph("new")),
            answer(200, page(3, OTHER)),
            place=Place("", DATABASE),
        )
        assert keeper.keep_record(BY_ID) == Done(OTHER, URL)
        assert len(vendor.requests) == 9

    def test_the_newer_one_is_trashed_and_the_older_one_kept(self) -> None:
        older, newer = page(1, OTHER, at="2026-11-25T11:59:00.000Z"), page(2, PAGE)
        keeper, vendor = notion(
            table(), rows(newer, older), answer(200, {**newer, "in_trash": True}), answer(200, page(3, OTHER))
        )
        assert keeper.keep_record(COMMAND) == Done(OTHER, URL)
        assert vendor.calls[2:] == [f"PATCH /v1/pages/{PAGE}", f"PATCH /v1/pages/{OTHER}"]
        assert vendor.requests[2].json == {"in_trash": True}

    def test_within_one_minute_the_id_decides(self) -> None:
        for listed in ((page(3), page(3, OTHER)), (page(3, OTHER), page(3))):
            keeper, vendor = notion(table(), rows(*listed), answer(200, page(3, OTHER, in_trash=True)))
            assert keeper.keep_record(COMMAND) == AlreadyDone(PAGE, URL)
            assert vendor.calls[-1] == f"PATCH /v1/pages/{OTHER}"

    @pytest.mark.parametrize(
        ("_case", "listed", "why"),
        [
            ("three", (page(), page(page_id=OTHER), page(page_id=THIRD)), "there are more than two"),
            ("a person's copy", (page(), page(page_id=OTHER, created_by={"id": "person"})), "they were not made by the same user"),
            ("the newer one knows more", (page(1), page(4, OTHER)), "the newer one shows a later state than is known here"),
        ],
    )  # fmt: skip
    def test_what_may_not_be_ours_is_for_a_person(
        self, _case: str, listed: tuple[Any, ...], why: str
    ) -> None:
        for act in (Notion.keep_record, Notion.find_keep_record):
            keeper, vendor = notion(table(), rows(*listed))
            said = act(keeper, COMMAND)
            assert isinstance(said, Permanent)
            assert (said.code, why in said.reason) == ("ambiguous", True)
            assert vendor.calls == [TABLE, FIND]

    def test_rows_of_other_cases_and_trashed_ones_are_not_counted(self) -> None:
        keeper, vendor = notion(
            table(),
            rows(page(case=CASE.lower()), page(page_id=OTHER, in_trash=True)),
            answer(200, page(page_id=THIRD)),
        )
        assert keeper.keep_record(COMMAND) == Done(THIRD, URL)
        assert vendor.calls[-1] == "POST /v1/pages"

    @pytest.mark.parametrize(
        ("_case", "response", "kind", "code"),
        [
            ("trashed by a person meanwhile", error(400, "validation_error"), Retryable, "conflict"),
            ("throttled", error(429, "rate_limited"), Retryable, "throttled"),
            ("server error", error(500, "internal_server_error"), Unknown, ""),
            ("not in the trash", answer(200, page(page_id=OTHER)), Unknown, ""),
            ("another one", answer(200, page(page_id=THIRD, in_trash=True)), Unknown, ""),
        ],
    )
    def test_while_the_double_is_there_nothing_else_is_written(
        self, _case: str, response: Response, kind: type, code: str
    ) -> None:
        keeper, vendor = notion(table(), rows(page(2), page(2, OTHER)), response)
        said = keeper.keep_record(COMMAND)
        assert isinstance(said, kind)
        assert getattr(said, "code", "") == code
        assert len(vendor.requests) == 3


class TestFinding:
    @pytest.mark.parametrize(
        ("_case", "response", "found"),
        [
            ("there", rows(page()), Done(PAGE, URL)),
            ("a later state", rows(page(version=9)), AlreadyDone(PAGE, "left as it is: the row shows the newer version 9")),
            ("an earlier state", rows(page(version=2)), NotFound(120.0, f"the row {PAGE} does not show version 3 yet")),
            ("absent", rows(), ABSENT),
            ("another case", rows(page(case="RF-0")), ABSENT),
            ("doubled", rows(page(), page(page_id=OTHER)),
             NotFound(120.0, "two rows carry the case's id, and the newer is to be trashed first")),
            ("a strange row", rows(page(), {"object": "data_source"}), Unknown("could not look at the row: Notion does not show all rows of the case")),
            ("more to come", rows(page(), has_more=True), Unknown("could not look at the row: Notion does not show all rows of the case")),
            ("broken off", rows(request_status={"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}),
             Unknown("could not look at the row: Notion does not show all rows of the case")),
            ("complete", rows(request_status={"type": "complete"}), ABSENT),
            ("no rights", error(403, "restricted_resource"), Unknown(f"could not look at the row: {RESTRICTED.reason}")),
            ("throttled", error(429, "rate_limited"), Unknown("could not look at the row: Notion asks us to slow down")),
            ("the column is gone", error(400, "validation_error", ""),
             Unknown("could not look at the row: Notion cannot take a value, a column or an id as it is")),
            ("server error", answer(502, "<html>"), Unknown("could not look at the row: unreadable answer from Notion, status 502")),
        ],
    )  # fmt: skip
    def test_by_the_cases_id(self, _case: str, response: Response, found: Any) -> None:
        keeper, vendor = notion(table(), response)
        assert keeper.find_keep_record(COMMAND) == found
        assert vendor.calls == [TABLE, FIND]

    def test_by_the_records_id(self) -> None:
        keeper, vendor = notion(table(), answer(200, page()))
        assert keeper.find_keep_record(BY_ID) == Done(PAGE, URL)
        assert vendor.calls == [TABLE, f"GET /v1/pages/{PAGE}"]

    def test_a_data_source_that_is_not_shared_hides_the_row_and_proves_nothing(self) -> None:
        keeper, vendor = notion(error(404, "object_not_found"))
        assert isinstance(keeper.find_keep_record(BY_ID), Unknown)
        assert vendor.calls == [TABLE]

    @pytest.mark.parametrize("answers", [(table(), rows(page(), has_more=True)), (table(), error(500, "internal_server_error")), (answer(200, "<html>"),)])  # fmt: skip
    def test_where_nothing_can_be_seen_nothing_is_written(self, answers: tuple[Response, ...]) -> None:
        keeper, vendor = notion(*answers)
        said = keeper.keep_record(COMMAND)
        assert isinstance(said, Retryable)
        assert said.code == "unavailable"
        assert vendor.is_drained

    def test_a_lost_answer_to_a_look_is_not_swallowed(self) -> None:
        keeper, _ = notion(table(), MaybeSentError("read timeout"))
        with pytest.raises(MaybeSentError):
            keeper.find_keep_record(COMMAND)


class TestCheck:
    @pytest.mark.parametrize(
        ("types", "where"), [(REPORTED, "in the column 'Report'"), (TYPES, "in the page")]
    )
    def test_it_says_what_it_found(self, types: dict[str, str], where: str) -> None:
        keeper, vendor = notion(table(types))
        assert keeper.check() == Health(
            True, f"Notion data source 'Cancellations' ({SOURCE}), the report {where}"
        )
        assert vendor.calls == [TABLE]

    def test_missing_and_strange_columns_are_named(self) -> None:
        for act in (Notion.check, lambda keeper: keeper.keep_record(COMMAND)):
            keeper, vendor = notion(table({"Order": "title", "RF case": "rich_text", "State": "status"}))
            said = act(keeper)
            told = said.detail if isinstance(said, Health) else said.reason
            assert told.startswith(
                "the data source has no column 'Name' of type title, 'RF version' of type number, "
                "'State' of type select (it is status): "
            )
            assert "'Order' (title)" in told
            assert len(vendor.requests) == 1
            assert said == Health(False, told) or said == Permanent("wrong_columns", told)

    @pytest.mark.parametrize(
        ("response", "detail"),
        [
            (error(401, "unauthorized"), UNAUTHORISED.reason),
            (answer(503, ""), "unreadable answer from Notion, status 503"),
            (answer(200, {"object": "data_source"}), "unreadable answer from Notion, status 200"),
        ],
    )
    def test_trouble_is_told(self, response: Response, detail: str) -> None:
        assert notion(response)[0].check() == Health(False, detail)

    @pytest.mark.parametrize(
        ("_case", "sources", "name", "words"),
        [
            ("none", [], "", "has 0 data sources that may be meant (there are: none)"),
            ("two", [(SOURCE, "A"), (OTHER, "B")], "", f"(there are: 'A' ({SOURCE}), 'B' ({OTHER}))"),
            ("none of the name", [(SOURCE, "A")], "B", f"(there are: 'A' ({SOURCE}))"),
            ("two of the name", [(SOURCE, "A"), (OTHER, "A")], "A", "has 2 data sources that may be meant"),
            ("not readable", [(SOURCE, "A"), (7, "A")], "A", "does not tell the database's data sources"),
        ],
    )
    def test_a_database_must_have_one_data_source_that_is_meant(
        self, _case: str, sources: list[tuple[Any, str]], name: str, words: str
    ) -> None:
        listed = [{"id": ident, "name": called} for ident, called in sources]
        keeper, vendor = notion(
            answer(200, {"object": "database", "data_sources": listed}), place=Place("", DATABASE, name)
        )
        health = keeper.check()
        assert not health.is_ok
        assert words in health.detail
        assert vendor.calls == [f"GET /v1/databases/{DATABASE}"]

    def test_of_several_data_sources_the_named_one_is_taken(self) -> None:
        listed = [{"id": OTHER, "name": "A"}, {"id": SOURCE, "name": "B"}]
        keeper, vendor = notion(
            answer(200, {"object": "database", "data_sources": listed}),
            table(),
            place=Place("", DATABASE, "B"),
        )
        assert keeper.check().is_ok
        assert vendor.calls[1] == TABLE


class TestTexts:
    @pytest.mark.parametrize(
        ("_case", "given", "sizes"),
        [
            ("nothing", "", []),
            ("one piece", "x" * 2_000, [2_000]),
            ("one more", "x" * 2_001, [2_000, 1]),
            ("signs of two units", "x" + "😀" * 1_000, [1_999, 2]),
        ],
    )
    def test_pieces_are_as_long_as_notion_counts(self, _case: str, given: str, sizes: list[int]) -> None:
        pieces = split(given)
        assert "".join(pieces) == given
        assert [units(piece) for piece in pieces] == sizes

    def test_what_is_too_long_is_cut_and_marked(self) -> None:
        told = rich_text("x" * 100_000)
        assert len(told) == 40
        assert told[-1]["text"]["content"] == "x" * 1_999 + "…"

    def test_a_title_is_one_piece(self) -> None:
        keeper, vendor = notion(table(), rows(), answer(200, page()))
        keeper.keep_record(replace(COMMAND, title="é" * 3_000))
        (piece,) = vendor.requests[2].json["properties"]["Name"]["title"]
        assert piece == text("é" * 1_999 + "…")

    def test_a_create_stays_within_the_vendors_limit_of_a_request(self) -> None:
        types = {**TYPES, **{f"F{n}": "rich_text" for n in range(8)}}
        keeper, vendor = notion(table(types), rows(), answer(200, page()))
        many = tuple((f"F{n}", "界" * 30_000) for n in range(8))
        keeper.keep_record(replace(COMMAND, text="界" * 300_000, fields=many))
        assert len(json.dumps(vendor.requests[2].json, ensure_ascii=False).encode()) < 500_000

    @pytest.mark.parametrize(
        ("kind", "value", "fitted"),
        [
            ("rich_text", "=1+1", [text("=1+1")]),
            ("rich_text", "", None),
            ("number", "42.50", Decimal("42.50")),
            ("number", "-7", Decimal(-7)),
            ("number", "0042", None),
            ("number", "1e5", None),
            ("number", "٤٢", None),
            ("number", "12345678901234567890", None),
            ("select", "EUR", {"name": "EUR"}),
            ("select", "a, b", None),
            ("select", "x" * 101, None),
            ("date", "2026-11-25", {"start": "2026-11-25"}),
            ("date", "2026-11-25T12:00:00Z", {"start": "2026-11-25T12:00:00Z"}),
            ("date", "2026-11-25T12:00:00+01:00", {"start": "2026-11-25T12:00:00+01:00"}),
            ("date", "25.11.2026", None),
            ("date", "2026-13-25", None),
            ("url", "https://shop.example/1", "https://shop.example/1"),
            ("url", "javascript:alert(1)", None),
            ("email", "ada@shop.example", "ada@shop.example"),
            ("phone_number", "x" * 201, None),
            ("people", "ada", None),
            ("checkbox", "yes", None),
            ("", "x", None),
        ],
    )
    def test_a_value_fits_its_column_or_does_not(self, kind: str, value: str, fitted: Any) -> None:
        assert fit(kind, value) == fitted


def test_what_the_audit_keeps_holds_no_token_and_no_customer() -> None:
    wire = FakeWire(FakeHttp(table(), rows(), error(400, "validation_error", "bad ntn_practice-token")))
    keeper = build(Credentials(Secret("ntn_practice-token"), SOURCE), wire)
    keeper.keep_record(replace(COMMAND, fields=(*COMMAND.fields, ("E-mail", "ada@shop.example"))))
    (made,) = wire.made
    http = RequestsWire(LocalPacer()).http(**made)
    assert isinstance(http, RequestsHttp)
    shown = page()
    shown["properties"]["Customer"] = {
        "rich_text": [{"plain_text": "Ada", "text": {"content": "Ada Lovelace"}}]
    }
    with record_exchanges() as exchanges:
        for request in wire.fake.requests:
            _record(request, http.base_url + request.path, http.headers, http.redaction, rows(shown), 0.0, "")
    kept = json.dumps([asdict(each) for each in exchanges], default=str)
    for word in ("ntn_practice", "Ada", "Lovelace", "ada@", "One refund needs"):
        assert word not in kept, word
    assert CASE in kept
    assert PAGE in kept
