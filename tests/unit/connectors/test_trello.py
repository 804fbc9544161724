"""Trello: what a card says, how it is found again among all cards of the board, and whose drag is a decision."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.trello import (
    REFUSALS,
    SPEC,
    STATES,
    UNAUTHORISED,
    Credentials,
    Trello,
    TrelloInbound,
    build,
    build_inbound,
    content,
    description,
    escape,
    mark_of,
)
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    OperatorWord,
    Reading,
    Refused,
    Verified,
)
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
from refundflow.transport.base import Request, Response
from refundflow.transport.http import RequestsHttp, RequestsWire
from refundflow.transport.pacing import LocalPacer
from refundflow.transport.signatures import sign_base64
from tests.support.fake_http import FakeHttp, FakeWire, answer

OPENED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CASE = mint_case_id(OPENED, 77)
STEP = mint_step_key(CASE, "notify", 3)
BOARD, INBOX, HELD, DONE, APPROVED, REJECTED = (
    f"5f00000000000000000000{n}" for n in ("b0", "a1", "a2", "a3", "a4", "a5")
)
BOT, ADA = "5f00000000000000000000d1", "5f00000000000000000000d2"
URL = "https://trello.com/c/abcd1234"
COMMAND = KeepRecord(
    step_key=STEP,
    key=wire_key(STEP, 1),
    case_id=CASE,
    title="Order 1001 cancelled",
    state="held",
    text="Refund 42.50 EUR *pending*",
    fields=(("Order", "1001"), ("Customer", "Ada [Lovelace](https://evil.example)")),
    version=3,
)
DESC = (
    "Refund 42.50 EUR \\*pending\\*\n\n- Order: 1001\n- Customer: Ada \\[Lovelace\\](https\\://evil.example)\n\n"
    f"ref: {CASE} v3"
)
FIELDS = ("fields", "name,desc,idList,idBoard,closed,shortUrl")
CARD_ID = f"{int(OPENED.timestamp()) + 5:08x}0000000000000001"
LISTS = answer(
    200, [{"id": id, "name": name, "closed": False} for id, name in ((INBOX, "Cancellations"), (HELD, "To decide"))]
)  # fmt: skip


def trello(vendor: FakeHttp, **places: str) -> Trello:
    return Trello(vendor, BOARD, INBOX, places or {"held": HELD})


def card(number: int = 1, *, at: int = 5, **changes: Any) -> dict[str, Any]:
    """A card of the case, version 3, born `at` seconds after the case was opened."""
    return {
        "id": f"{int(OPENED.timestamp()) + at:08x}{number:016x}",
        "name": f"[{CASE}] Order 1001 cancelled",
        "desc": DESC,
        "idList": HELD,
        "idBoard": BOARD,
        "closed": False,
        "shortUrl": URL,
        **changes,
    }


def older(version: int = 2, **changes: Any) -> dict[str, Any]:
    return card(desc=f"before\n\nref: {CASE} v{version}", idList=INBOX, **changes)


def strange(number: int = 9, **changes: Any) -> dict[str, Any]:
    return card(number, **{"name": "Buy milk", "desc": "", **changes})


def page(*cards: Any) -> Response:
    return answer(200, list(cards))


OLD = page(strange(at=-7_200))
"""A page that ends a look: its card is older than the case."""
EMPTY = page()
GONE = answer(404, "The requested resource was not found.")
BY_BOT = answer(200, [{"id": "1", "type": "createCard", "idMemberCreator": BOT}])
BY_ADA = answer(200, [{"id": "1", "type": "createCard", "idMemberCreator": ADA}])
NOT_THERE = NotFound(60.0, f"no card of the board carries {CASE}")
UNREADABLE = Unknown("unreadable answer from Trello, status 200")


# ---------------------------------------------------------------- what a card says


def test_a_card_carries_its_case_in_its_name_and_in_its_last_line() -> None:
    assert content(COMMAND) == {
        "name": f"[{CASE}] Order 1001 cancelled",
        "desc": DESC,
        "dueComplete": False,
    }
    assert mark_of(f"[{CASE}] Order", DESC) == (CASE, 3)


@pytest.mark.parametrize("state", STATES)
def test_a_case_that_has_ended_is_marked_complete(state: str) -> None:
    ended = {"complete", "declined", "nothing_to_do"}
    assert content(replace(COMMAND, state=state))["dueComplete"] is (state in ended)


@pytest.mark.parametrize(
    ("_case", "text", "shown"),
    [
        ("plain", "Refund 42.50 EUR, 2 x Kettle (blue)", "Refund 42.50 EUR, 2 x Kettle (blue)"),
        ("emphasis", "*a* _b_ ~~c~~ `d`", "\\*a\\* \\_b\\_ \\~\\~c\\~\\~ \\`d\\`"),
        ("a backslash", "a\\*b", "a\\\\\\*b"),
        ("a link", "[here](http://evil.example)", "\\[here\\](http\\://evil.example)"),
        ("a picture", "![x](http://evil.example)", "!\\[x\\](http\\://evil.example)"),
        ("bare addresses", "www.evil.example a@evil.example", "www\\.evil.example a\\@evil.example"),
        ("a mention and an emoji", "@ada :bomb:", "\\@ada \\:bomb:"),
        ("HTML and entities", "<b> &lt;", "\\<b\\> \\&lt;"),
        ("a heading", "# big", "\\# big"),
        ("underlined headings", "a\n===\nb\n---", "a\n\\===\nb\n\\---"),
        ("lists", "- a\n+ b\n1. c\n2) d", "\\- a\n\\+ b\n1\\. c\n2\\) d"),
        ("a quotation and a table", "> a\n|b|", "\\> a\n\\|b\\|"),
        ("a block of code", "a\n\n        b", "a\n\nb"),
        ("other line ends", "a\r\n# b\u2028# c", "a\n\\# b\n\\# c"),
        ("a line like our own", "ref: RF-OTHER v9", "ref\\: RF-OTHER v9"),
    ],
)
def test_text_is_text_and_no_markup(_case: str, text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize("text", ["ref: RF-OTHER v9", "a\nref: RF-OTHER v9\n", "  ref: RF-OTHER v9"])
def test_what_a_customer_writes_is_never_taken_for_our_line(text: str) -> None:
    said = description(replace(COMMAND, text=text, fields=(("Note", text),)))
    assert mark_of("", said) == (CASE, 3)
    assert mark_of("", said.removesuffix(f"ref: {CASE} v3")) == ("", 0)


def test_a_name_is_one_line() -> None:
    assert content(replace(COMMAND, title=" Order\n1001 \t x"))["name"] == f"[{CASE}] Order 1001 x"
    assert content(replace(COMMAND, title=""))["name"] == f"[{CASE}]"
    assert len(content(replace(COMMAND, title="x" * 9_000))["name"]) == len(f"[{CASE}] ") + 200


@pytest.mark.parametrize(
    "text", ["x" * 20_000, "*" * 20_000, "\n".join(["# a"] * 9_000), "\U0001f600" * 20_000]
)
def test_a_description_that_is_too_long_is_cut_and_keeps_its_last_line(text: str) -> None:
    said = description(replace(COMMAND, text=text, fields=tuple((f"Field {n}", text) for n in range(99))))
    assert len(said.encode("utf-16-le")) // 2 <= 16_384
    assert "…" in said
    assert said.endswith(f"\n\nref: {CASE} v3")


@pytest.mark.parametrize(
    ("_case", "name", "desc", "mark"),
    [
        ("both", f"[{CASE}] Order", f"x\n\nref: {CASE} v12", (CASE, 12)),
        ("renamed", "Order of Ada", f"ref: {CASE} v12", (CASE, 12)),
        ("notes behind it", "x", f"ref: {CASE} v12  \n\ncalled her", (CASE, 12)),
        ("described anew", f"[{CASE}] Order", "called her", (CASE, 0)),
        ("no version", f"[{CASE}] Order", f"ref: {CASE}", (CASE, 0)),
        ("another case's line decides", f"[{CASE}] Order", "ref: RF-2 v1", ("RF-2", 1)),
        ("the last of two", "", "ref: RF-1 v9\nref: RF-2 v1", ("RF-2", 1)),
        ("not at the beginning", f"about [{CASE}]", f"see ref: {CASE} v1", ("", 0)),
        ("no id of ours", "[urgent] call", "", ("", 0)),
    ],
)  # fmt: skip
def test_whose_a_card_is(_case: str, name: str, desc: str, mark: tuple[str, int]) -> None:
    assert mark_of(name, desc) == mark


# ---------------------------------------------------------------- making one


def test_a_card_is_made_where_the_board_has_none() -> None:
    vendor = FakeHttp(OLD, LISTS, answer(200, card()))
    assert trello(vendor).keep_record(COMMAND) == Done(CARD_ID, URL)
    assert vendor.calls == [f"GET /boards/{BOARD}/cards/all", f"GET /boards/{BOARD}/lists", "POST /cards"]
    look, lists, made = vendor.requests
    assert look.params == (FIELDS, ("limit", "200"))
    assert lists.params == (("filter", "all"), ("fields", "name,closed"))
    assert made.json == {**content(COMMAND), "idList": HELD, "pos": "top"}
    assert made.params == ()


def test_a_state_without_a_list_of_its_own_goes_to_the_common_one() -> None:
    vendor = FakeHttp(OLD, LISTS, answer(503))
    trello(vendor).keep_record(replace(COMMAND, state="attention"))
    assert vendor.requests[-1].json["idList"] == INBOX


@pytest.mark.parametrize(
    ("_case", "lists", "outcome"),
    [
        ("not on the board", answer(200, [{"id": INBOX, "name": "x", "closed": False}]),
         Permanent("list_not_there", f"the board has no list {HELD}: check the lists' ids")),
        ("archived", answer(200, [{"id": HELD, "name": "To decide", "closed": True}]),
         Permanent("list_archived", "the list 'To decide' is archived, and nobody would see the card: bring it back")),
        ("no lists at all", answer(200, []), Retryable("unavailable", "could not look before writing: unreadable answer from Trello, status 200")),
        ("HTML", answer(200, "<html>"), Retryable("unavailable", "could not look before writing: unreadable answer from Trello, status 200")),
        ("a list without a name", answer(200, [{"id": HELD, "closed": False}]),
         Retryable("unavailable", "could not look before writing: unreadable answer from Trello, status 200")),
        ("throttled", answer(429, ""), Retryable("throttled", "Trello is asked too often", 10.0)),
    ],
)  # fmt: skip
def test_no_card_is_made_in_a_list_that_would_hide_it(_case: str, lists: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(OLD, lists)
    assert trello(vendor).keep_record(COMMAND) == outcome
    assert {request.method for request in vendor.requests} == {"GET"}


@pytest.mark.parametrize(
    ("_case", "look", "outcome"),
    [
        ("the board is not there", GONE, Permanent("not_there", "Trello says: The requested resource was not found.")),
        ("not a member", answer(401, "unauthorized permission requested"),
         Retryable("unauthorised", "Trello refuses our key or token: make the bot a member of the board, and give its token the scope read,write")),
        ("down", answer(503, ""), Retryable("unavailable", "could not look before writing: unreadable answer from Trello, status 503")),
        ("a strange card", page({"id": "x"}), Retryable("unavailable", "could not look before writing: unreadable answer from Trello, status 200")),
    ],
)  # fmt: skip
def test_nothing_is_made_where_the_board_cannot_be_read(_case: str, look: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(look)
    assert trello(vendor).keep_record(COMMAND) == outcome
    assert len(vendor.requests) == 1


def refused(code: str, words: str) -> Permanent:
    return Permanent(code, f"Trello says: {words}")


ANSWERS: list[tuple[str, Response, Outcome]] = [
    ("no key", answer(401, "invalid key"),
     Retryable("unauthorised", "Trello refuses our key or token: check REFUNDFLOW_TRELLO_API_KEY")),
    ("a revoked token", answer(401, "invalid token"),
     Retryable("unauthorised", "Trello refuses our key or token: the token was revoked or has expired: check REFUNDFLOW_TRELLO_TOKEN")),
    ("a token that only reads", answer(401, {"message": "missing scopes"}),
     Retryable("unauthorised", "Trello refuses our key or token: the token may not do this: make one with the scope read,write")),
    ("forbidden without a word", answer(403, "<html>"),
     Retryable("unauthorised", "Trello refuses our key or token: check the key, the token and its scopes")),
    ("throttled", answer(429, {"error": "API_TOKEN_LIMIT_EXCEEDED", "message": "Rate limit exceeded"}),
     Retryable("throttled", "Trello is asked too often", 10.0)),
    ("throttled with a hint", answer(429, "", {"Retry-After": "30"}), Retryable("throttled", "Trello is asked too often", 30.0)),
    ("a list that is none", answer(400, "invalid value for idList"), refused("list_refused", "invalid value for idList")),
    ("too long", answer(400, "invalid value for desc"), refused("invalid_value", "invalid value for desc")),
    ("no id", answer(400, "invalid id\n"), refused("invalid_id", "invalid id")),
    ("said in JSON", answer(400, {"message": "Invalid objectId", "error": "ERROR"}), refused("invalid_id", "Invalid objectId")),
    ("an error alone", answer(409, {"error": "CONFLICT"}), refused("refused", "CONFLICT")),
    ("words that we do not know", answer(400, "Too many open cards"), refused("refused", "Too many open cards")),
    ("a page with a 400", answer(400, "<html>Bad Request</html>"), Unknown("unreadable answer from Trello, status 400")),
    ("a page by its type", answer(404, "Cannot POST /1/cards", {"Content-Type": "text/html; charset=utf-8"}),
     Unknown("unreadable answer from Trello, status 404")),
    ("a 400 without a word", answer(400, ""), Unknown("unreadable answer from Trello, status 400")),
    ("a long text", answer(400, "x" * 600), Unknown("unreadable answer from Trello, status 400")),
    ("a sub-request failed", answer(449, "sub-request failed"), Unknown("unreadable answer from Trello, status 449")),
    ("known words with a 5xx", answer(500, "invalid id"), Unknown("unreadable answer from Trello, status 500")),
    ("not in time", answer(504, ""), Unknown("unreadable answer from Trello, status 504")),
    ("HTML", answer(200, "<html>"), UNREADABLE),
    ("empty", answer(200, ""), UNREADABLE),
    ("an id alone", answer(200, {"id": CARD_ID}), UNREADABLE),
    ("a card of another case", answer(200, strange()), UNREADABLE),
    ("a card of another version", answer(200, older()), UNREADABLE),
    ("a card without its place", answer(200, {**card(), "idList": None}), UNREADABLE),
    ("a card with a strange id", answer(200, {**card(), "id": "abc"}), UNREADABLE),
    ("a card without an address", answer(200, {**card(), "shortUrl": None}), Done(CARD_ID)),
]  # fmt: skip


@pytest.mark.parametrize(("_case", "response", "outcome"), ANSWERS)
def test_answers_to_a_creation(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(OLD, LISTS, response)
    assert trello(vendor).keep_record(COMMAND) == outcome
    assert vendor.calls[-1] == "POST /cards"


@pytest.mark.parametrize(("_case", "response", "outcome"), ANSWERS)
def test_answers_to_an_update(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(answer(200, older()), LISTS, response)
    assert trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID)) == outcome
    assert vendor.calls[-1] == f"PUT /cards/{CARD_ID}"


def test_what_is_not_found_is_the_list_of_a_creation_and_the_card_of_an_update() -> None:
    made = trello(FakeHttp(OLD, LISTS, GONE)).keep_record(COMMAND)
    assert made == Permanent("list_not_there", "the list is not there any more: check the lists' ids")
    for command, looked in (
        (COMMAND, (page(older()), OLD)),
        (replace(COMMAND, record_id=CARD_ID), (answer(200, older()),)),
    ):
        updated = trello(FakeHttp(*looked, LISTS, GONE)).keep_record(command)
        assert updated == Permanent("record_gone", "the card is not there any more: somebody deleted it")


@pytest.mark.parametrize("words", sorted(REFUSALS))
def test_every_refusal_of_the_table_is_permanent(words: str) -> None:
    said = trello(FakeHttp(OLD, LISTS, answer(400, words.capitalize()))).keep_record(COMMAND)
    assert isinstance(said, Permanent)
    assert said.code == {"not_there": "list_not_there"}.get(REFUSALS[words], REFUSALS[words])


@pytest.mark.parametrize("words", sorted(UNAUTHORISED))
def test_every_refused_credential_says_what_to_do_and_not_what_the_vendor_quoted(words: str) -> None:
    said = trello(FakeHttp(OLD, LISTS, answer(401, f"{words}: trello-token"))).keep_record(COMMAND)
    assert isinstance(said, Retryable)
    assert UNAUTHORISED[words] in said.reason
    assert "trello-token" not in said.reason


# ---------------------------------------------------------------- bringing one on


@pytest.mark.parametrize("is_named", [True, False])
def test_a_card_is_brought_to_its_state_and_to_the_top_of_its_list(is_named: bool) -> None:
    looked = (answer(200, older()),) if is_named else (page(older(), strange()), OLD)
    vendor = FakeHttp(*looked, LISTS, answer(200, card()))
    command = replace(COMMAND, record_id=CARD_ID if is_named else "")
    assert trello(vendor).keep_record(command) == Done(CARD_ID, URL)
    assert vendor.calls[-2:] == [f"GET /boards/{BOARD}/lists", f"PUT /cards/{CARD_ID}"]
    assert vendor.requests[-1].json == {**content(COMMAND), "idList": HELD, "pos": "top"}
    if is_named:
        assert vendor.calls[0] == f"GET /cards/{CARD_ID}"
        assert vendor.requests[0].params == (FIELDS,)


def test_a_card_that_stays_in_its_list_keeps_its_place_there() -> None:
    vendor = FakeHttp(answer(200, {**older(), "idList": HELD}), answer(200, card()))
    assert trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID)) == Done(CARD_ID, URL)
    assert vendor.calls == [f"GET /cards/{CARD_ID}", f"PUT /cards/{CARD_ID}"]
    assert vendor.requests[1].json == {**content(COMMAND), "idList": HELD}


def test_a_card_is_not_moved_into_an_archived_list() -> None:
    vendor = FakeHttp(answer(200, older()), answer(200, [{"id": HELD, "name": "To decide", "closed": True}]))
    said = trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID))
    assert isinstance(said, Permanent)
    assert said.code == "list_archived"
    assert {request.method for request in vendor.requests} == {"GET"}


@pytest.mark.parametrize(
    ("_case", "shown", "outcome"),
    [
        ("this version", card(), AlreadyDone(CARD_ID, URL)),
        ("this version, and dragged since", card(idList=APPROVED), AlreadyDone(CARD_ID, URL)),
        ("this version, and archived since", card(closed=True), AlreadyDone(CARD_ID, URL)),
        ("a later one", older(4), AlreadyDone(CARD_ID, f"{URL} shows version 4")),
        ("archived before", older(closed=True),
         Permanent("record_gone", f"somebody archived the card {URL}: bring it back to have it kept")),
        ("moved to another board", older(idBoard=APPROVED), Permanent("record_gone", f"somebody moved the card {URL} to another board")),
        ("another case's", card(desc="ref: RF-2 v1"),
         Permanent("not_our_record", f"the card {URL} does not carry {CASE}: somebody changed it")),
        ("nobody's", strange(1),
         Permanent("not_our_record", f"the card {URL} does not carry {CASE}: somebody changed it")),
    ],
)  # fmt: skip
def test_a_card_that_is_not_to_be_changed_is_left_alone(
    _case: str, shown: dict[str, Any], outcome: Outcome
) -> None:
    vendor = FakeHttp(answer(200, shown))
    assert trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID)) == outcome
    assert vendor.calls == [f"GET /cards/{CARD_ID}"]


def test_a_deleted_card_is_said_and_no_other_is_made() -> None:
    vendor = FakeHttp(GONE)
    assert trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID)) == Permanent(
        "record_gone", "the card is not there any more: somebody deleted it"
    )
    assert vendor.calls == [f"GET /cards/{CARD_ID}"]


def test_an_archived_card_that_the_look_finds_is_not_made_again() -> None:
    said = trello(FakeHttp(page(older(closed=True)), OLD)).keep_record(COMMAND)
    assert isinstance(said, Permanent)
    assert said.code == "record_gone"


def test_a_card_whose_last_line_was_taken_out_is_written_anew() -> None:
    vendor = FakeHttp(answer(200, card(desc="called her")), answer(200, card()))
    assert trello(vendor).keep_record(replace(COMMAND, record_id=CARD_ID)) == Done(CARD_ID, URL)


def test_the_id_of_a_record_is_one_part_of_the_path() -> None:
    vendor = FakeHttp(answer(404, "x"))
    trello(vendor).keep_record(replace(COMMAND, record_id="../boards/1?x=1"))
    assert vendor.calls == ["GET /cards/..%2Fboards%2F1%3Fx%3D1"]


# ---------------------------------------------------------------- two cards

OLDEST, NEWER = older(), card(2, at=9)


def test_of_two_cards_that_we_made_the_older_stays_and_the_newer_is_archived() -> None:
    vendor = FakeHttp(
        page(NEWER, OLDEST), OLD, BY_BOT, BY_BOT, answer(200, {**NEWER, "closed": True}), LISTS, answer(200, card())
    )  # fmt: skip
    assert trello(vendor).keep_record(COMMAND) == Done(CARD_ID, URL)
    assert vendor.calls[2:] == [
        f"GET /cards/{OLDEST['id']}/actions",
        f"GET /cards/{NEWER['id']}/actions",
        f"PUT /cards/{NEWER['id']}",
        f"GET /boards/{BOARD}/lists",
        f"PUT /cards/{OLDEST['id']}",
    ]
    assert vendor.requests[2].params == (("filter", "createCard"),)
    assert vendor.requests[4].json == {"closed": True}


@pytest.mark.parametrize(
    ("_case", "makers", "code"),
    [
        ("made by a person", (BY_BOT, BY_ADA), "ambiguous"),
        ("a copy, which nobody created", (BY_BOT, answer(200, [])), "ambiguous"),
        ("two copies", (answer(200, []), answer(200, [])), "ambiguous"),
        ("not told", (answer(200, {}),), "unavailable"),
        ("throttled", (BY_BOT, answer(429)), "throttled"),
    ],
)  # fmt: skip
def test_a_second_card_that_is_not_surely_ours_is_a_persons_business(
    _case: str, makers: tuple[Response, ...], code: str
) -> None:
    vendor = FakeHttp(page(OLDEST, NEWER), OLD, *makers)
    said = trello(vendor).keep_record(COMMAND)
    assert isinstance(said, Permanent | Retryable)
    assert said.code == code
    assert {request.method for request in vendor.requests} == {"GET"}


@pytest.mark.parametrize(
    ("_case", "archived", "outcome"),
    [
        ("not told", answer(502, "<html>"), Unknown("unreadable answer from Trello, status 502")),
        ("still open", answer(200, NEWER), UNREADABLE),
        ("refused", answer(400, "invalid id"), refused("invalid_id", "invalid id")),
    ],
)
def test_the_older_waits_until_the_newer_is_archived(
    _case: str, archived: Response, outcome: Outcome
) -> None:
    vendor = FakeHttp(page(OLDEST, NEWER), OLD, BY_BOT, BY_BOT, archived)
    assert trello(vendor).keep_record(COMMAND) == outcome


def test_a_newer_card_that_is_archived_already_is_no_second_one() -> None:
    vendor = FakeHttp(page(OLDEST, {**NEWER, "closed": True}), OLD, LISTS, answer(200, card()))
    assert trello(vendor).keep_record(COMMAND) == Done(CARD_ID, URL)
    assert vendor.calls[-1] == f"PUT /cards/{OLDEST['id']}"


# ---------------------------------------------------------------- looking


@pytest.mark.parametrize(
    ("_case", "answers", "found"),
    [
        ("made", (page(strange(), card()), OLD), Done(CARD_ID, URL)),
        ("made on a board of its own", (page(card()), EMPTY), Done(CARD_ID, URL)),
        ("not made", (OLD, LISTS), NOT_THERE),
        ("an empty board", (EMPTY, LISTS), NOT_THERE),
        ("another case, that begins alike", (page(card(name=f"[{CASE}0]", desc=f"ref: {CASE}0 v3")), OLD, LISTS), NOT_THERE),
        ("made, and archived since", (page(card(closed=True)), OLD), Done(CARD_ID, URL)),
        ("not brought on yet", (page(older()), OLD), NotFound(60.0, f"the card {URL} shows version 2")),
        ("overtaken", (page(older(4)), OLD), AlreadyDone(CARD_ID, f"{URL} shows version 4")),
        ("of two the older counts", (page(NEWER, OLDEST), OLD), NotFound(60.0, f"the card {URL} shows version 2")),
        ("of two the open one counts", (page({**NEWER, "shortUrl": "n"}, {**OLDEST, "closed": True}), OLD),
         Done(NEWER["id"], "n")),
        ("an empty answer, and no lists", (EMPTY, answer(200, [])), UNREADABLE),
        ("the card's list is elsewhere", (EMPTY, answer(200, [{"id": INBOX, "name": "x", "closed": False}])),
         Unknown(f"could not look: list_not_there: the board has no list {HELD}: check the lists' ids")),
        ("the board is not there", (GONE,), Unknown("could not look: not_there: Trello says: The requested resource was not found.")),
        ("HTML", (answer(200, "<html>"),), UNREADABLE),
        ("one card cannot be read", (page(card(), None),), UNREADABLE),
        ("down on the second page", (page(card()), answer(500)), Unknown("unreadable answer from Trello, status 500")),
        ("throttled", (answer(429, "", {"Retry-After": "30"}),), Retryable("throttled", "Trello is asked too often", 30.0)),
    ],
)  # fmt: skip
def test_what_a_look_at_the_board_finds(_case: str, answers: tuple[Response, ...], found: Found) -> None:
    vendor = FakeHttp(*answers)
    assert trello(vendor).find_keep_record(COMMAND) == found
    assert vendor.is_drained
    assert {request.method for request in vendor.requests} == {"GET"}


@pytest.mark.parametrize(
    ("_case", "response", "found"),
    [
        ("brought on", answer(200, card()), Done(CARD_ID, URL)),
        ("not yet", answer(200, older()), NotFound(60.0, f"the card {URL} shows version 2")),
        ("overtaken", answer(200, older(9)), AlreadyDone(CARD_ID, f"{URL} shows version 9")),
        ("deleted", GONE, Permanent("record_gone", "the card is not there any more: somebody deleted it")),
        ("no id", answer(400, "invalid id"), Unknown("could not look: invalid_id: Trello says: invalid id")),
        ("a page", answer(404, "<html>"), Unknown("unreadable answer from Trello, status 404")),
        ("HTML", answer(200, "<html>"), UNREADABLE),
    ],
)  # fmt: skip
def test_what_a_look_at_the_card_finds(_case: str, response: Response, found: Found) -> None:
    vendor = FakeHttp(response)
    assert trello(vendor).find_keep_record(replace(COMMAND, record_id=CARD_ID)) == found
    assert vendor.calls == [f"GET /cards/{CARD_ID}"]


def test_a_look_goes_from_page_to_page_until_cards_are_older_than_the_case() -> None:
    first = [strange(n, at=1_000 + n) for n in (3, 1, 2)]
    vendor = FakeHttp(page(*first), page(strange(at=500), card()), page(strange(at=-601), strange(at=-599)))
    assert trello(vendor).find_keep_record(COMMAND) == Done(CARD_ID, URL)
    assert [dict(r.params).get("before") for r in vendor.requests] == [None, first[1]["id"], CARD_ID]


def test_ten_minutes_between_the_clocks_are_allowed_for() -> None:
    vendor = FakeHttp(page(strange(at=-599)), EMPTY, LISTS)
    assert trello(vendor).find_keep_record(COMMAND) == NOT_THERE


def test_a_board_that_shows_the_same_page_again_proves_nothing() -> None:
    vendor = FakeHttp(page(strange()), page(strange()))
    assert trello(vendor).find_keep_record(COMMAND) == Unknown(
        "Trello shows the same cards again when asked for older ones"
    )


def test_a_board_that_is_too_busy_to_be_read_proves_nothing() -> None:
    numbers = iter(range(90_000, 0, -1))
    vendor = FakeHttp(always=lambda _: page(strange(at=next(numbers))))
    assert trello(vendor).find_keep_record(COMMAND) == Unknown(
        "more than 5000 cards on the board since the case was opened"
    )
    assert len(vendor.requests) == 25


# ---------------------------------------------------------------- the check, and how it is built


@pytest.mark.parametrize(
    ("_case", "response", "health"),
    [
        ("fine", LISTS, Health(True, "Trello board, cards go to Cancellations, To decide")),
        ("a list is not there", answer(200, [{"id": INBOX, "name": "x", "closed": False}]),
         Health(False, f"the board has no list {HELD}: check the lists' ids")),
        ("a list is archived",
         answer(200, [{"id": INBOX, "name": "x", "closed": False}, {"id": HELD, "name": "To decide", "closed": True}]),
         Health(False, "archived, so that nobody would see cards there: To decide")),
        ("a wrong token", answer(401, "invalid token"),
         Health(False, "Trello refuses our key or token: the token was revoked or has expired: check REFUNDFLOW_TRELLO_TOKEN")),
        ("down", answer(503, ""), Health(False, "unreadable answer from Trello, status 503")),
        ("HTML", answer(200, "<html>"), Health(False, "unreadable answer from Trello, status 200")),
        ("no lists", answer(200, []), Health(False, "unreadable answer from Trello, status 200")),
    ],
)  # fmt: skip
def test_check(_case: str, response: Response, health: Health) -> None:
    vendor = FakeHttp(response)
    assert trello(vendor).check() == health
    assert vendor.calls == [f"GET /boards/{BOARD}/lists"]


CREDENTIALS = Credentials(
    api_key="key-1",
    token=Secret("token-of-the-bot"),
    board_id=BOARD,
    list_id=INBOX,
    lists=f"held={HELD}, complete = {DONE},",
    oauth_secret=Secret("oauth-secret"),
    callback_url="https://hooks.example.com/trello",
    approved_list_id=APPROVED,
    rejected_list_id=REJECTED,
    members=f"{ADA}, {BOT}",
    bot_member_id=BOT,
)


def test_key_and_token_stand_in_a_header_and_in_no_address() -> None:
    wire = FakeWire()
    built = build(CREDENTIALS, wire)
    (made,) = wire.made
    assert (
        made["headers"]["Authorization"] == 'OAuth oauth_consumer_key="key-1", oauth_token="token-of-the-bot"'
    )
    assert made["base_url"] == "https://api.trello.com/1"
    assert (built.board_id, built.list_id, built.places) == (BOARD, INBOX, {"held": HELD, "complete": DONE})
    assert {"name", "desc"} <= made["redact"]
    # Whatever the vendor quotes, the token is struck out by its value.
    http = RequestsWire(LocalPacer()).http(**made)
    assert isinstance(http, RequestsHttp)
    assert "token-of-the-bot" not in http.redaction.text("invalid token: token-of-the-bot")


def test_the_inbound_side_is_built_of_the_same_credentials() -> None:
    built = build_inbound(CREDENTIALS)
    assert built.members == {ADA}
    assert (built.board_id, built.approved_list_id, built.rejected_list_id) == (BOARD, APPROVED, REJECTED)
    assert (built.callback_url, built.bot_member_id) == ("https://hooks.example.com/trello", BOT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lists": f"moon={HELD}"}, "'moon', which is no state"),
        ({"lists": "held"}, "'' is no id"),
        ({"lists": "held=To decide"}, "'To decide' is no id"),
        ({"board_id": "AbCd1234"}, "'AbCd1234' is no id"),
        ({"list_id": ""}, "'' is no id"),
        ({"members": "ada"}, "'ada' is no id"),
        ({"bot_member_id": "bot"}, "'bot' is no id"),
        ({"rejected_list_id": APPROVED}, "both approved and rejected"),
        ({"members": BOT}, "whose decisions"),
        ({"lists": f"held={APPROVED}"}, "list that means a decision"),
        ({"lists": "", "list_id": REJECTED}, "list that means a decision"),
        ({"callback_url": ""}, "callback_url"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_at_the_start(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CREDENTIALS, **changes)


def test_a_board_without_decisions_needs_no_more_than_its_list() -> None:
    plain = Credentials("key", Secret("token"), BOARD, INBOX)
    assert build(plain, FakeWire()).places == {}
    assert build_inbound(plain).members == frozenset()


def test_the_declaration_says_that_a_creation_is_looked_for_before_it_is_repeated() -> None:
    operation = SPEC.operations[Capability.KEEP_RECORD]
    assert operation.idempotency is Idempotency.LOOKUP
    # 100 calls in 10 s for a token.
    assert SPEC.burst + 10 * SPEC.rate_per_s < 100


# ---------------------------------------------------------------- webhooks

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
INBOUND = build_inbound(CREDENTIALS)
VECTOR_BODY = b'{"action":{"id":"a1","type":"updateCard"},"model":{"id":"m1"}}'
VECTOR = "gLBFB0c5cJo4sn6Ye/IgzrYhrUg="
VECTOR_SECRET = "rf-test-oauth-secret"
CALLBACK = "https://hooks.example.com/trello"


def delivery(signature: str, body: bytes = VECTOR_BODY) -> Delivery:
    return Delivery({"x-trello-webhook": signature} if signature else {}, body)


def by(secret: str, url: str = CALLBACK) -> TrelloInbound:
    return replace(INBOUND, secrets=Secret(secret), callback_url=url)


@pytest.mark.parametrize("secrets", [VECTOR_SECRET, f"old-secret, {VECTOR_SECRET}"])
def test_the_constructed_vector_holds(secrets: str) -> None:
    assert by(secrets).verify(delivery(VECTOR), NOW) == Verified("a1", "updateCard")


@pytest.mark.parametrize(
    ("_case", "inbound", "given", "why"),
    [
        ("another secret", by("other"), delivery(VECTOR), "the signature does not match"),
        ("another address", by(VECTOR_SECRET, f"{CALLBACK}/"), delivery(VECTOR), "the signature does not match"),
        ("a changed body", by(VECTOR_SECRET), delivery(VECTOR, VECTOR_BODY + b" "), "the signature does not match"),
        ("the address before the body", by(VECTOR_SECRET),
         delivery(sign_base64(VECTOR_SECRET, CALLBACK.encode() + VECTOR_BODY, "sha1")), "the signature does not match"),
        ("the body alone", by(VECTOR_SECRET), delivery(sign_base64(VECTOR_SECRET, VECTOR_BODY, "sha1")),
         "the signature does not match"),
        ("SHA-256", by(VECTOR_SECRET), delivery(sign_base64(VECTOR_SECRET, VECTOR_BODY + CALLBACK.encode())),
         "the signature does not match"),
        ("not ASCII", by(VECTOR_SECRET), delivery("é\udce9"), "the signature does not match"),
        ("no header", by(VECTOR_SECRET), delivery(""), "the signature header is missing"),
        ("no secret", by(""), delivery(VECTOR), "no OAuth secret, or no callback address, is set"),
        ("no address", by(VECTOR_SECRET, ""), delivery(VECTOR), "no OAuth secret, or no callback address, is set"),
    ],
)  # fmt: skip
def test_what_is_not_trellos_is_refused(
    _case: str, inbound: TrelloInbound, given: Delivery, why: str
) -> None:
    assert inbound.verify(given, NOW) == Refused(why)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"action":{"id":1,"type":"x"}}', b'{"action":{"id":"","type":"x"}}']
)
def test_a_signed_body_that_is_no_action_is_refused(body: bytes) -> None:
    signature = sign_base64(VECTOR_SECRET, body + CALLBACK.encode(), "sha1")
    assert by(VECTOR_SECRET).verify(delivery(signature, body), NOW) == Refused("the body is no action")


def move(
    change: Callable[[dict[str, Any]], None] | None = None, *, to: str = APPROVED, by: str = ADA
) -> bytes:
    action: dict[str, Any] = {
        "id": "6565f0000000000000000001",
        "type": "updateCard",
        "date": "2026-11-25T11:59:00.000Z",
        "idMemberCreator": by,
        "memberCreator": {"id": by, "username": "ada"},
        "data": {
            "card": {"id": CARD_ID, "name": f"[{CASE}] Order 1001 cancelled", "idList": to},
            "board": {"id": BOARD, "name": "Cancellations"},
            "listBefore": {"id": HELD, "name": "To decide"},
            "listAfter": {"id": to, "name": "Approved"},
            "old": {"idList": HELD},
        },
    }
    if change is not None:
        change(action)
    return json.dumps({"action": action, "model": {"id": BOARD}}).encode()


@pytest.mark.parametrize(("to", "is_approved"), [(APPROVED, True), (REJECTED, False)])
def test_a_move_into_a_list_of_decisions_is_a_persons_word(to: str, is_approved: bool) -> None:
    assert INBOUND.read_event("updateCard", move(to=to)) == OperatorWord(
        "trello", CASE, is_approved, ADA, "the card was moved to Approved"
    )


def without(*path: str, value: Any = None) -> Callable[[dict[str, Any]], None]:
    """Changes (or, without a value, takes out) what the path names in the action."""

    def change(action: dict[str, Any]) -> None:
        place = action
        for name in path[:-1]:
            place = place[name]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("_case", "topic", "body", "reading"),
    [
        ("a comment", "commentCard", b"{}", Irrelevant("commentCard asks nothing of us")),
        ("a new card", "createCard", b"{}", Irrelevant("createCard asks nothing of us")),
        ("renamed", "updateCard", move(without("data", "listAfter")), Irrelevant("the card was changed and not moved")),
        ("moved elsewhere", "updateCard", move(to=HELD), Irrelevant("the list means no decision")),
        ("another board", "updateCard", move(without("data", "board", "id", value=DONE)), Irrelevant("another board")),
        ("not our card", "updateCard", move(without("data", "card", "name", value="Buy milk")), Irrelevant("no card of ours")),
        ("our mark, and not in front", "updateCard", move(without("data", "card", "name", value=f"x [{CASE}]")),
         Irrelevant("no card of ours")),
        ("we ourselves", "updateCard", move(by=BOT), Irrelevant("our own move")),
        ("somebody else", "updateCard", move(by=DONE), Irrelevant(f"the member {DONE} does not decide")),
        ("the list has no name", "updateCard", move(without("data", "listAfter", "name")), OperatorWord("trello", CASE, True, ADA)),
    ],
)  # fmt: skip
def test_what_other_actions_say(_case: str, topic: str, body: bytes, reading: Reading) -> None:
    assert INBOUND.read_event(topic, body) == reading


def test_without_lists_for_decisions_no_move_is_one() -> None:
    plain = replace(INBOUND, approved_list_id="", rejected_list_id="")
    assert plain.read_event("updateCard", move()) == Irrelevant("the list means no decision")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("action", b"{}"),
        ("action", b"[]"),
        ("action", b"not JSON"),
        ("action.data", move(without("data"))),
        ("action.data.listAfter", move(without("data", "listAfter", value=[]))),
        ("action.data.listAfter.id", move(without("data", "listAfter", "id"))),
        ("action.data.board", move(without("data", "board"))),
        ("action.data.board.id", move(without("data", "board", "id", value=7))),
        ("action.data.card", move(without("data", "card"))),
        ("action.data.card.name", move(without("data", "card", "name"))),
        ("action.memberCreator", move(without("memberCreator"))),
        ("action.memberCreator.id", move(without("memberCreator", "id", value=""))),
    ],
)
def test_a_move_that_cannot_be_read_says_what_is_missing(path: str, body: bytes) -> None:
    with pytest.raises(MalformedError) as raised:
        INBOUND.read_event("updateCard", body)
    assert raised.value.field == path


# ---------------------------------------------------------------- the rest of what is sent


def test_every_request_names_its_operation_and_carries_no_credential() -> None:
    def play(request: Request) -> Response:
        table: Mapping[str, Response] = {
            f"GET /boards/{BOARD}/lists": LISTS,
            "POST /cards": answer(200, card()),
        }
        return table.get(f"{request.method} {request.path}", OLD)

    vendor = FakeHttp(always=play)
    trello(vendor).keep_record(COMMAND)
    trello(vendor).check()
    assert all(request.operation.startswith("trello.") for request in vendor.requests)
    assert not any({"key", "token"} & {name for name, _ in request.params} for request in vendor.requests)
