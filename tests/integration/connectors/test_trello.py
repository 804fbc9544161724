"""Trello's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors import trello as connector
from refundflow.connectors.trello import Credentials, Trello, TrelloInbound, build, build_inbound
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, OperatorWord, Refused, Verified
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Permanent, Retryable, Unknown
from refundflow.sandbox import trello as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import Http, MaybeSentError, Request, Response
from tests.support.world_http import VENDORS, WorldWire

NAME = "trello"
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 77)
OTHER = mint_case_id(NOW, 78)
INBOX, APPROVED, REJECTED, FINISHED = (
    double.LISTS[name] for name in ("Cancellations", "Approved", "Rejected", "Done")
)
CALLBACK = "https://shop.example/hooks/trello"
SUBSCRIPTION = Subscription(CALLBACK, double.SECRET, topics=("updateCard",))
CREDENTIALS = Credentials(
    api_key=double.API_KEY,
    token=Secret(double.TOKEN),
    board_id=double.BOARD,
    list_id=INBOX,
    lists=f"complete={FINISHED},declined={FINISHED}",
    oauth_secret=Secret(double.SECRET),
    callback_url=CALLBACK,
    approved_list_id=APPROVED,
    rejected_list_id=REJECTED,
    members=double.PERSON,
    bot_member_id=double.BOT,
    base_url=f"{VENDORS}/{NAME}/1",
)


class Board:
    """A practice Trello, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = NOW
        self.deliveries: list[tuple[str, Delivery]] = []
        self.world = World([double.Trello], clock=self.clock, send=self.take)
        self.vendor.probe = lambda _: 200
        self.trello: Trello = build(CREDENTIALS, WorldWire(self.world))
        self.inbound: TrelloInbound = build_inbound(CREDENTIALS)

    def clock(self) -> datetime:
        return self.now

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((url, Delivery({n.lower(): v for n, v in headers.items()}, body)))
        return 200

    @property
    def vendor(self) -> double.Trello:
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, double.Trello)
        return vendor

    def fault(self, operation: str, kind: Kind = Kind.LOST_REPLY, **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def seed(self, **data: Any) -> Record:
        made: Record = self.world.seed({NAME: data})[NAME]
        return made

    def seeded(self, **changes: Any) -> str:
        """The case's card, version 2, made without our doing."""
        card = {"list": INBOX, "name": f"[{CASE}] Order 1001", "desc": f"x\n\nref: {CASE} v2", **changes}
        return str(self.seed(cards=[card])["cards"][0])

    def settle(self, **data: Any) -> None:
        self.world.settle(NAME, data)

    @property
    def book(self) -> list[Record]:
        return self.vendor.book.lines()

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.book]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]

    def card(self, id: str) -> Record:
        found: Record = self.vendor.cards[id]
        return found

    @property
    def cards(self) -> list[Record]:
        return list(self.vendor.cards.values())


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.world.close()


def record(version: int = 3, **changes: Any) -> KeepRecord:
    case_id = changes.get("case_id", CASE)
    step = mint_step_key(case_id, "notify", version)
    return KeepRecord(
        **{
            "step_key": step,
            "key": wire_key(step, 1),
            "case_id": case_id,
            "title": "Order 1001 cancelled",
            "state": "running",
            "text": "Refund 42.50 EUR pending",
            "fields": (("Order", "1001"), ("Customer", "Ada <b>Lovelace</b>")),
            "version": version,
            **changes,
        }
    )


def made(board: Board, command: KeepRecord | None = None) -> str:
    said = board.trello.keep_record(command or record())
    assert isinstance(said, Done), said
    return said.reference


def code_of(outcome: Any) -> str:
    assert isinstance(outcome, Permanent | Retryable), outcome
    return outcome.code


# ---------------------------------------------------------------- one card a case


def test_a_card_is_made_once_with_our_reference(board: Board) -> None:
    id = made(board)
    (line,) = board.book
    assert (line["effect"], line["id"], line["reference"]) == ("create_card", id, CASE)
    card = board.card(id)
    assert card["name"] == f"[{CASE}] Order 1001 cancelled"
    assert card["desc"].endswith(f"\n\nref: {CASE} v3")
    assert "\\<b\\>Lovelace" in card["desc"]
    assert (card["idList"], card["dueComplete"], card["closed"]) == (INBOX, False, False)
    said = board.trello.find_keep_record(record())
    assert said == Done(id, f"https://trello.com/c/{card['shortLink']}")


def test_a_replay_changes_nothing(board: Board) -> None:
    id = made(board)
    for command in (record(), record(record_id=id), record(2), record(2, record_id=id)):
        said = board.trello.keep_record(command)
        assert isinstance(said, AlreadyDone)
        assert said.reference == id
    assert board.effects == ["create_card"]


@pytest.mark.parametrize("is_named", [True, False])
def test_a_case_that_goes_on_moves_its_card(board: Board, is_named: bool) -> None:
    id = made(board)
    done = record(4, state="complete", text="42.50 EUR went back", record_id=id if is_named else "")
    assert made(board, done) == id
    assert board.effects == ["create_card", "update_card"]
    assert set(board.book[1]["changed"]) == {"idList", "desc", "dueComplete"}
    card = board.card(id)
    assert (card["idList"], card["dueComplete"]) == (FINISHED, True)
    assert card["desc"].endswith(f"ref: {CASE} v4")
    assert isinstance(board.trello.find_keep_record(done), Done)
    assert isinstance(board.trello.find_keep_record(record(record_id=id)), AlreadyDone)


def test_two_cases_have_a_card_each(board: Board) -> None:
    first, second = made(board), made(board, record(case_id=OTHER))
    assert first != second
    assert {line["reference"] for line in board.book} == {CASE, OTHER}
    assert board.effects == ["create_card", "create_card"]


def test_what_people_do_beside_the_text_stays(board: Board) -> None:
    id = made(board)
    board.settle(card=id, comment="called her")
    board.settle(card=id, due="2026-12-01T09:00:00.000Z")
    made(board, record(4, record_id=id))
    assert board.card(id)["due"] == "2026-12-01T09:00:00.000Z"
    comments = [each for each in board.vendor.actions if each["type"] == "commentCard"]
    assert [each["data"]["text"] for each in comments] == ["called her"]


@pytest.mark.parametrize(
    "settled",
    [{"name": "Order of Ada"}, {"desc": "called her"}, {"name": "Order of Ada", "idList": FINISHED}],
)
def test_a_card_that_people_changed_is_still_found(board: Board, settled: Record) -> None:
    id = made(board)
    board.settle(card=id, **settled)
    assert made(board, record(4)) == id
    assert board.effects == ["create_card", "update_card"]
    assert board.card(id)["name"] == f"[{CASE}] Order 1001 cancelled"


def test_a_card_is_found_behind_many_newer_ones(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "_PAGE", 10)
    id = made(board)
    board.now += timedelta(seconds=60)
    board.seed(cards=[{"list": APPROVED, "name": f"Buy milk {n}"} for n in range(35)])
    assert isinstance(board.trello.find_keep_record(record()), Done)
    assert isinstance(board.trello.keep_record(record()), AlreadyDone)
    assert [card["id"] for card in board.cards if card["name"].startswith("[RF")] == [id]
    assert board.effects == ["create_card"]


def test_a_look_does_not_read_what_is_older_than_the_case(board: Board) -> None:
    board.now -= timedelta(days=1)
    board.seed(cards=[{"list": INBOX, "name": "Buy milk"}])
    board.now = NOW
    made(board)
    assert board.asked == ["list_board_cards", "list_lists", "create_card"]


def test_search_that_lags_does_not_matter(board: Board) -> None:
    made(board)
    assert isinstance(board.trello.find_keep_record(record()), Done)
    assert "search" not in board.asked


# ---------------------------------------------------------------- faults


def test_a_lost_answer_is_found_and_the_card_stays_one(board: Board) -> None:
    board.fault("create_card")
    with pytest.raises(MaybeSentError):
        board.trello.keep_record(record())
    found = board.trello.find_keep_record(record())
    assert isinstance(found, Done)
    assert isinstance(board.trello.keep_record(record()), AlreadyDone)
    assert board.effects == ["create_card"]
    assert [card["id"] for card in board.cards] == [found.reference]


def test_a_lost_request_leaves_nothing_and_is_sent_again(board: Board) -> None:
    board.fault("create_card", Kind.LOST_REQUEST)
    with pytest.raises(MaybeSentError):
        board.trello.keep_record(record())
    assert board.trello.find_keep_record(record()) == NotFound(60.0, f"no card of the board carries {CASE}")
    made(board)
    assert board.effects == ["create_card"]


@pytest.mark.parametrize("is_lost_after", [True, False])
def test_an_update_whose_answer_or_request_got_lost(board: Board, is_lost_after: bool) -> None:
    id = made(board)
    board.fault("update_card", Kind.LOST_REPLY if is_lost_after else Kind.LOST_REQUEST)
    command = record(4, record_id=id)
    with pytest.raises(MaybeSentError):
        board.trello.keep_record(command)
    found = board.trello.find_keep_record(command)
    assert isinstance(found, Done if is_lost_after else NotFound)
    assert isinstance(board.trello.keep_record(command), AlreadyDone if is_lost_after else Done)
    assert board.effects == ["create_card", "update_card"]


@pytest.mark.parametrize(("after", "effects"), [(True, ["create_card"]), (False, [])])
def test_a_server_error_is_unknown_until_it_is_looked_at(
    board: Board, after: bool, effects: list[str]
) -> None:
    board.fault("create_card", Kind.STATUS, status=500, is_after_effect=after)
    assert isinstance(board.trello.keep_record(record()), Unknown)
    assert board.effects == effects
    assert isinstance(board.trello.find_keep_record(record()), Done if after else NotFound)
    board.trello.keep_record(record())
    assert board.effects == ["create_card"]


def test_a_page_of_something_in_between_is_unknown(board: Board) -> None:
    board.fault("create_card", Kind.HTML, status=502, is_after_effect=True)
    assert isinstance(board.trello.keep_record(record()), Unknown)
    assert isinstance(board.trello.find_keep_record(record()), Done)
    assert board.effects == ["create_card"]


@pytest.mark.parametrize("operation", ["list_board_cards", "list_lists", "create_card"])
def test_too_many_calls_are_to_come_again_in_another_window(board: Board, operation: str) -> None:
    board.fault(operation, Kind.STATUS, status=429)
    assert board.trello.keep_record(record()) == Retryable("throttled", "Trello is asked too often", 10.0)
    assert board.effects == []
    made(board)


@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.HTML])
@pytest.mark.parametrize("operation", ["list_board_cards", "list_lists"])
def test_a_look_that_fails_before_the_act_sends_nothing(board: Board, kind: Kind, operation: str) -> None:
    for _ in range(2):
        board.fault(operation, kind, status=502)
    assert code_of(board.trello.keep_record(record())) == "unavailable"
    assert isinstance(board.trello.find_keep_record(record()), Unknown)
    assert board.effects == []


@pytest.mark.parametrize(
    ("code", "said"),
    [("invalid value for desc", "invalid_value"), ("invalid id", "invalid_id"), (double.NOT_FOUND, "list_not_there"), ("no", "refused")],
)  # fmt: skip
def test_a_refusal_is_permanent(board: Board, code: str, said: str) -> None:
    board.fault("create_card", Kind.REFUSE, code=code)
    assert code_of(board.trello.keep_record(record())) == said
    assert board.effects == []


@pytest.mark.parametrize("operation", ["list_board_cards", "create_card"])
def test_refused_credentials_are_the_houses_fault(board: Board, operation: str) -> None:
    board.fault(operation, Kind.REFUSE_AUTH)
    said = board.trello.keep_record(record())
    assert code_of(said) == "unauthorised"
    assert board.effects == []


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"api_key": "another-key"}, "REFUNDFLOW_TRELLO_API_KEY"),
        ({"token": Secret("another-token")}, "REFUNDFLOW_TRELLO_TOKEN"),
    ],
)
def test_a_wrong_key_and_a_wrong_token_are_told_apart(
    board: Board, changes: dict[str, Any], advice: str
) -> None:
    wrong = build(replace(CREDENTIALS, **changes), WorldWire(board.world))
    said = wrong.keep_record(record())
    assert isinstance(said, Retryable)
    assert advice in said.reason
    health = wrong.check()
    assert not health.is_ok
    assert advice in health.detail


def test_a_token_that_only_reads_is_told_with_the_first_card(board: Board) -> None:
    board.settle(token="read_only")
    assert board.trello.check().is_ok
    said = board.trello.keep_record(record())
    assert isinstance(said, Retryable)
    assert "scope read,write" in said.reason


def test_a_bot_that_is_no_member_sees_nothing_and_proves_nothing(board: Board) -> None:
    id = made(board)
    board.settle(board=double.BOARD, is_member=False)
    for command in (record(4), record(4, record_id=id)):
        assert code_of(board.trello.keep_record(command)) == "unauthorised"
        assert code_of(board.trello.find_keep_record(command)) == "unauthorised"
    assert board.effects == ["create_card"]


# ---------------------------------------------------------------- what people did to the card


def test_a_deleted_card_is_not_made_again(board: Board) -> None:
    id = made(board)
    board.settle(card=id, deleted=True)
    assert code_of(board.trello.keep_record(record(4, record_id=id))) == "record_gone"
    assert code_of(board.trello.find_keep_record(record(4, record_id=id))) == "record_gone"
    assert board.effects == ["create_card"]


@pytest.mark.parametrize("is_named", [True, False])
def test_an_archived_card_is_left_alone_and_not_made_again(board: Board, is_named: bool) -> None:
    id = made(board)
    board.settle(card=id, closed=True)
    command = record(4, record_id=id if is_named else "")
    assert code_of(board.trello.keep_record(command)) == "record_gone"
    assert code_of(board.trello.find_keep_record(command)) == "record_gone"
    board.settle(card=id, closed=False)
    assert made(board, command) == id
    assert board.effects == ["create_card", "update_card"]


def test_a_card_of_another_case_is_not_overwritten(board: Board) -> None:
    id = made(board, record(case_id=OTHER))
    assert code_of(board.trello.keep_record(record(9, record_id=id))) == "not_our_record"
    assert board.effects == ["create_card"]


def test_an_archived_list_gets_no_card(board: Board) -> None:
    board.settle(list=FINISHED, closed=True)
    id = made(board)
    done = record(4, state="complete", record_id=id)
    assert code_of(board.trello.keep_record(done)) == "list_archived"
    assert code_of(board.trello.keep_record(record(4, state="complete", case_id=OTHER))) == "list_archived"
    assert not board.trello.check().is_ok
    board.settle(list=FINISHED, closed=False)
    assert made(board, done) == id
    assert board.effects == ["create_card", "update_card"]


def test_a_list_of_another_board_is_found_out_before_cards_vanish_there(board: Board) -> None:
    elsewhere = board.seed(boards=[{"name": "Elsewhere"}])["boards"][0]
    strange = board.seed(lists=[{"name": "Cancellations", "board": elsewhere}])["lists"][0]
    wrong = replace(board.trello, list_id=strange)
    assert code_of(wrong.keep_record(record())) == "list_not_there"
    assert isinstance(wrong.find_keep_record(record()), Unknown)
    assert not wrong.check().is_ok
    assert board.effects == []


# ---------------------------------------------------------------- two cards


def test_of_two_cards_of_ours_the_older_goes_on_and_the_newer_is_archived(board: Board) -> None:
    first = board.seeded()
    board.now += timedelta(seconds=5)
    second = board.seeded(desc=f"x\n\nref: {CASE} v3")
    assert isinstance(board.trello.find_keep_record(record()), NotFound)
    assert made(board) == first
    assert [(line["effect"], line["id"]) for line in board.book] == [
        ("update_card", second),
        ("update_card", first),
    ]
    assert (board.card(first)["closed"], board.card(second)["closed"]) == (False, True)
    assert board.card(first)["desc"].endswith(f"ref: {CASE} v3")
    assert isinstance(board.trello.find_keep_record(record()), Done)
    assert isinstance(board.trello.keep_record(record()), AlreadyDone)


def test_a_broken_off_archiving_is_continued(board: Board) -> None:
    first = board.seeded()
    board.seeded()
    board.fault("update_card")
    with pytest.raises(MaybeSentError):
        board.trello.keep_record(record())
    assert isinstance(board.trello.find_keep_record(record()), NotFound)
    assert made(board) == first
    assert board.effects == ["update_card", "update_card"]


def test_two_workers_at_once_leave_one_open_card(board: Board) -> None:
    slow = replace(board.trello, http=Meddling(board.trello.http, lambda: made(board)))
    assert isinstance(slow.keep_record(record()), Done)
    assert board.effects == ["create_card", "create_card"]
    made(board, record(4))
    assert [card["closed"] for card in sorted(board.cards, key=lambda card: str(card["id"]))] == [False, True]


class Meddling:
    """An `Http` before which somebody else acts when a card is about to be made."""

    def __init__(self, http: Http, act: Callable[[], Any]) -> None:
        self.http = http
        self.act = act

    def send(self, request: Request) -> Response:
        if request.method == "POST":
            self.act()
        return self.http.send(request)


# ---------------------------------------------------------------- webhooks


def drag(board: Board, id: str, place: str, **more: Any) -> tuple[str, Delivery]:
    """A person moves a card; the delivery that tells of it."""
    board.world.webhooks.subscribe(NAME, SUBSCRIPTION)
    board.deliveries.clear()
    board.settle(card=id, idList=place, **more)
    board.world.webhooks.wait_idle()
    (told,) = board.deliveries
    return told


@pytest.mark.parametrize(("place", "is_approved"), [(APPROVED, True), (REJECTED, False)])
def test_a_drag_is_verified_and_read_as_a_persons_word(board: Board, place: str, is_approved: bool) -> None:
    id = made(board, record(state="held"))
    url, told = drag(board, id, place)
    assert url == CALLBACK
    verified = board.inbound.verify(told, board.now)
    assert isinstance(verified, Verified)
    assert verified.topic == "updateCard"
    assert board.inbound.read_event(verified.topic, told.body) == OperatorWord(
        NAME,
        CASE,
        is_approved,
        double.PERSON,
        f"the card was moved to {'Approved' if is_approved else 'Rejected'}",
    )


def test_a_delivery_that_comes_again_has_the_same_id(board: Board) -> None:
    id = made(board, record(state="held"))
    _, told = drag(board, id, APPROVED)
    action = board.vendor.actions[-1]
    assert board.inbound.verify(told, board.now) == Verified(action["id"], "updateCard")
    assert board.inbound.verify(told, board.now + timedelta(days=2)) == Verified(action["id"], "updateCard")


def test_our_own_move_is_no_word_of_a_person(board: Board) -> None:
    id = made(board, record(state="held"))
    board.world.webhooks.subscribe(NAME, SUBSCRIPTION)
    here = replace(board.trello, places={"running": APPROVED})
    assert isinstance(here.keep_record(record(4, record_id=id)), Done)
    board.world.webhooks.wait_idle()
    readings = [board.inbound.read_event("updateCard", told.body) for _, told in board.deliveries]
    assert Irrelevant("our own move") in readings
    assert all(isinstance(reading, Irrelevant) for reading in readings)


def test_the_word_of_somebody_who_may_not_decide_is_none(board: Board) -> None:
    stranger = board.seed(people=[{"username": "eve"}])["people"][0]
    id = made(board, record(state="held"))
    _, told = drag(board, id, APPROVED, member=stranger)
    assert board.inbound.read_event("updateCard", told.body) == Irrelevant(
        f"the member {stranger} does not decide"
    )


def test_other_cards_and_other_lists_are_nothing_to_us(board: Board) -> None:
    milk = board.seed(cards=[{"list": INBOX, "name": "Buy milk"}])["cards"][0]
    _, told = drag(board, milk, APPROVED)
    assert board.inbound.read_event("updateCard", told.body) == Irrelevant("no card of ours")
    id = made(board, record(state="held"))
    _, told = drag(board, id, FINISHED)
    assert board.inbound.read_event("updateCard", told.body) == Irrelevant("the list means no decision")


@pytest.mark.parametrize("changes", [{"oauth_secret": Secret("another")}, {"callback_url": f"{CALLBACK}/"}])
def test_a_delivery_for_another_address_or_secret_is_refused(board: Board, changes: dict[str, Any]) -> None:
    _, told = drag(board, made(board), APPROVED)
    wrong = build_inbound(replace(CREDENTIALS, **changes))
    assert wrong.verify(told, board.now) == Refused("the signature does not match")


def test_a_person_who_drags_while_we_write_is_not_overruled_by_a_repeat(board: Board) -> None:
    id = made(board, record(state="held"))
    drag(board, id, APPROVED)
    assert isinstance(board.trello.keep_record(record(state="held", record_id=id)), AlreadyDone)
    assert board.card(id)["idList"] == APPROVED
    # The case goes on, and so does its card.
    made(board, record(4, record_id=id))
    assert board.card(id)["idList"] == INBOX
