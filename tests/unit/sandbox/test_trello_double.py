"""The practice Trello: cards and comments made and found, what it refuses, what it tells, and what stands in its book."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox import trello
from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Event, Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.trello import (
    API_KEY,
    BOARD,
    BOT,
    FIELD,
    LABEL,
    LISTS,
    NOT_FOUND,
    PERSON,
    SECRET,
    TOKEN,
    Trello,
    signature_of,
)
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
AUTH = {"Authorization": f'OAuth oauth_consumer_key="{API_KEY}", oauth_token="{TOKEN}"'}
TODO, APPROVED, DONE = LISTS["Cancellations"], LISTS["Approved"], LISTS["Done"]
NAME = "[RF-77] Order 1001 cancelled"
DESC = "Refund 42.50 EUR pending\n\nref: rf-case-77"
HOOK = "https://rf.example/hooks/trello"
NOWHERE = "5f0000000000000000000999"


class Bench:
    """A practice Trello behind its door; the clock stands still until moved, what runs later runs when told."""

    def __init__(self) -> None:
        self.now = START
        self.status = 200
        self.probed: list[str] = []
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.world = World([Trello], clock=lambda: self.now, send=self._send)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("trello")
        assert isinstance(vendor, Trello)
        self.trello = vendor
        self.trello.probe = self._probe

    def _send(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return self.status

    def _probe(self, url: str) -> int:
        self.probed.append(url)
        return self.status

    def run_waiting(self) -> list[float]:
        """Carries out what waits, but nothing that comes of it; returns how long it was to wait."""
        waiting, self.waiting = self.waiting, []
        for _, act in waiting:
            act()
        return [delay_s for delay_s, _ in waiting]

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Result:
        headers = {**AUTH, "Content-Type": "application/json"} if body is not None else AUTH
        return self.client.simulate_request(
            method,
            f"/trello/1{path}",
            query_string=urlencode(query),
            body=None if body is None else json.dumps(body),
            headers=headers,
        )

    def get(self, path: str, **query: Any) -> Any:
        result = self.call("GET", path, **query)
        assert result.status_code == 200, result.text
        return result.json

    def card(self, **more: Any) -> Record:
        result = self.call("POST", "/cards", {"idList": TODO, "name": NAME, "desc": DESC, **more})
        assert result.status_code == 200, result.text
        card: Record = result.json
        return card

    def put(self, card: Record, **changes: Any) -> Record:
        result = self.call("PUT", f"/cards/{card['id']}", changes)
        assert result.status_code == 200, result.text
        changed: Record = result.json
        return changed

    def comment(self, card: Record, text: str = "refunded\nref rf-op-9f0c") -> Record:
        result = self.call("POST", f"/cards/{card['id']}/actions/comments", {"text": text})
        assert result.status_code == 200, result.text
        action: Record = result.json
        return action

    def hook(self, **more: Any) -> Result:
        return self.call("POST", "/webhooks/", {"callbackURL": HOOK, "idModel": BOARD, **more})

    def actions(self, card: Record, **query: Any) -> list[Record]:
        found: list[Record] = self.get(f"/cards/{card['id']}/actions", **query)
        return found

    def book(self, effect: str | None = None) -> list[Record]:
        return self.trello.book.lines(effect)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench()
    monkeypatch.setattr(bench.world, "later", lambda delay_s, act: bench.waiting.append((delay_s, act)))
    return bench


def _refused(result: Result) -> tuple[int, str]:
    return result.status_code, result.text


# ---------------------------------------------------------------- who may call


def test_the_health_check_names_the_tokens_member(bench: Bench) -> None:
    me = bench.get("/members/me", fields="username,fullName,idBoards")

    assert me == {"id": BOT, "username": "refundflow", "fullName": "Refundflow Bot", "idBoards": [BOARD]}


def test_key_and_token_may_stand_in_the_query(bench: Bench) -> None:
    result = bench.client.simulate_get("/trello/1/members/me", params={"key": API_KEY, "token": TOKEN})

    assert result.status_code == 200


@pytest.mark.parametrize(
    ("_case", "method", "path", "key", "token", "said"),
    [
        ("nothing, reading", "GET", "/members/me", "", "", "unauthorized permission requested"),
        ("nothing, reading a card", "GET", "/cards/x", "", "", "unauthorized card permission requested"),
        ("nothing, writing", "POST", "/cards", "", "", '{"message": "missing scopes"}'),
        ("a key alone", "GET", "/members/me", API_KEY, "", '{"message": "missing scopes"}'),
        ("a token alone", "GET", "/members/me", "", TOKEN, "invalid key"),
        ("another key", "GET", "/members/me", "other", TOKEN, "invalid key"),
        ("another token", "GET", "/members/me", API_KEY, "other", "invalid token"),
    ],
)
def test_bad_credentials_are_refused_in_the_vendors_words(
    bench: Bench, _case: str, method: str, path: str, key: str, token: str, said: str
) -> None:
    params = {"key": key, "token": token}
    result = bench.client.simulate_request(method, f"/trello/1{path}", params=params)

    assert _refused(result) == (401, said)
    is_json = said.startswith("{")
    assert result.headers["content-type"].startswith("application/json" if is_json else "text/plain")
    assert bench.book() == []


def test_a_bearer_header_is_no_credential(bench: Bench) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert bench.client.simulate_get("/trello/1/members/me", headers=headers).status_code == 401


def test_a_token_that_only_reads_or_is_revoked_is_refused_where_it_must_be(bench: Bench) -> None:
    bench.world.settle("trello", {"token": "read_only"})
    refused = bench.call("POST", "/cards", {"idList": TODO})
    assert _refused(refused) == (401, '{"message": "missing scopes"}')
    assert bench.get("/members/me")["id"] == BOT

    bench.world.settle("trello", {"token": "revoked"})
    assert _refused(bench.call("GET", "/members/me")) == (401, "invalid token")
    bench.world.settle("trello", {"token": "valid"})
    bench.card()
    assert len(bench.book()) == 1


def test_a_board_without_membership_is_not_the_bots(bench: Bench) -> None:
    card = bench.card()
    bench.world.settle("trello", {"board": BOARD, "is_member": False})

    assert _refused(bench.call("GET", f"/boards/{BOARD}/cards")) == (401, "unauthorized permission requested")
    assert _refused(bench.call("GET", f"/lists/{TODO}/cards")) == (401, "unauthorized permission requested")
    for method, path in (("GET", f"/cards/{card['id']}"), ("POST", "/cards")):
        refused = bench.call(method, path, {"idList": TODO} if method == "POST" else None)
        assert _refused(refused) == (401, "unauthorized card permission requested")
    assert _refused(bench.hook()) == (401, "unauthorized permission requested")
    assert bench.get("/members/me")["idBoards"] == []
    assert len(bench.book()) == 1


# ---------------------------------------------------------------- cards made


def test_a_card_is_made_in_its_list_and_noted_once(bench: Bench) -> None:
    card = bench.card(
        idLabels=[LABEL], due="2026-12-01T09:30:00+01:00", urlSource="https://shop.example/1001"
    )

    assert (card["idList"], card["idBoard"], card["idShort"], card["closed"]) == (TODO, BOARD, 1, False)
    assert card["due"] == "2026-12-01T08:30:00.000Z"
    assert card["idLabels"] == [LABEL]
    assert [each["name"] for each in card["labels"]] == ["refund"]
    assert [each["url"] for each in card["attachments"]] == ["https://shop.example/1001"]
    assert int(card["id"][:8], 16) == int(START.timestamp())
    assert card["dateLastActivity"] == "2026-11-25T12:00:00.000Z"
    assert card["shortUrl"] == f"https://trello.com/c/{card['shortLink']}"
    assert card["url"] == f"{card['shortUrl']}/1-rf-77-order-1001-cancelled"
    assert bench.book() == [
        {
            "at": START.isoformat(),
            "vendor": "trello",
            "effect": "create_card",
            "id": card["id"],
            "amount_minor": None,
            "currency": None,
            "target": {"board": BOARD, "list": TODO, "card": card["id"]},
            "reference": "rf-case-77",
            "idempotency_key": None,
            "name": NAME,
            "desc": DESC,
        }
    ]


def test_the_same_card_twice_is_two_cards_of_which_the_older_has_the_lesser_id(bench: Bench) -> None:
    first, second = bench.card(), bench.card()

    assert first["id"] < second["id"]
    assert (first["idShort"], second["idShort"]) == (1, 2)
    assert [each["id"] for each in bench.get(f"/boards/{BOARD}/cards/all")] == [first["id"], second["id"]]
    assert [line["id"] for line in bench.book("create_card")] == [first["id"], second["id"]]


def test_without_a_reference_line_the_names_marker_is_the_reference(bench: Bench) -> None:
    bench.card(desc="")
    bench.card(desc="", name="Order 1002")

    assert [line["reference"] for line in bench.book()] == ["RF-77", None]


@pytest.mark.parametrize("kind", ["form", "query"])
def test_a_card_may_be_sent_as_a_form_or_in_the_query(bench: Bench, kind: str) -> None:
    asked = urlencode({"idList": TODO, "name": NAME, "idLabels": LABEL, "dueComplete": "true"})
    form = {**AUTH, "Content-Type": "application/x-www-form-urlencoded"}
    result = (
        bench.client.simulate_post("/trello/1/cards", body=asked, headers=form)
        if kind == "form"
        else bench.client.simulate_post("/trello/1/cards", query_string=asked, headers=AUTH)
    )

    assert result.status_code == 200
    assert (result.json["name"], result.json["idLabels"]) == (NAME, [LABEL])
    assert result.json["dueComplete"] is True


@pytest.mark.parametrize(
    ("_case", "body", "said"),
    [
        ("no list", {"name": "x"}, "invalid value for idList"),
        ("a list's name", {"idList": "Cancellations"}, "invalid value for idList"),
        ("a short id", {"idList": TODO[:-1]}, "invalid value for idList"),
        ("a list that is a number", {"idList": 7}, "invalid value for idList"),
        ("a name that is none", {"idList": TODO, "name": 7}, "invalid value for name"),
        ("a long name", {"idList": TODO, "name": "x" * 16_385}, "invalid value for name"),
        ("a long description", {"idList": TODO, "desc": "x" * 16_385}, "invalid value for desc"),
        ("no date", {"idList": TODO, "due": "soon"}, "invalid value for due"),
        ("no boolean", {"idList": TODO, "dueComplete": "yes"}, "invalid value for dueComplete"),
        ("no place", {"idList": TODO, "pos": "middle"}, "invalid value for pos"),
        ("a place below zero", {"idList": TODO, "pos": -1}, "invalid value for pos"),
        ("no address", {"idList": TODO, "urlSource": "ftp://x"}, "invalid value for urlSource"),
        ("an unknown label", {"idList": TODO, "idLabels": [NOWHERE]}, "invalid value for idLabels"),
        ("no id", {"idList": TODO, "idLabels": "red"}, '{"message": "Invalid objectId", "error": "ERROR"}'),
        ("no object", [1], "Error parsing body: invalid json"),
    ],
)
def test_a_card_that_is_none_is_refused_and_nothing_is_made(
    bench: Bench, _case: str, body: Any, said: str
) -> None:
    assert _refused(bench.call("POST", "/cards", body)) == (400, said)
    assert bench.book() == []
    assert bench.get(f"/boards/{BOARD}/cards/all") == []


def test_a_list_that_is_not_there_is_a_404(bench: Bench) -> None:
    assert _refused(bench.call("POST", "/cards", {"idList": NOWHERE})) == (404, NOT_FOUND)


def test_texts_of_the_greatest_length_are_taken(bench: Bench) -> None:
    card = bench.card(name="n" * 16_384, desc="d" * 16_384)

    assert (len(card["name"]), len(card["desc"])) == (16_384, 16_384)


def test_unknown_parameters_and_closed_at_birth_are_passed_over(bench: Bench) -> None:
    assert bench.card(colour="red", closed=True)["closed"] is False


def test_a_full_board_takes_no_further_open_card(bench: Bench) -> None:
    bench.world.seed({"trello": {"habits": {"open_cards_most": 1}}})
    card = bench.card()
    limits = bench.get(f"/boards/{BOARD}", fields="limits")["limits"]

    assert limits["cards"]["openPerBoard"]["status"] == "warning"
    assert bench.call("POST", "/cards", {"idList": TODO}).status_code == 400
    bench.put(card, closed=True)
    bench.card()
    assert len(bench.book("create_card")) == 2


def test_top_and_bottom_are_places_in_the_list(bench: Bench) -> None:
    ids = [bench.card(pos=pos)["id"] for pos in ("bottom", "bottom", "top", 20_000)]

    shown = [each["id"] for each in bench.get(f"/lists/{TODO}/cards")]
    assert shown == [ids[2], ids[0], ids[3], ids[1]]


# ---------------------------------------------------------------- cards changed


def test_a_move_tells_both_lists_and_is_noted_once(bench: Bench) -> None:
    card = bench.card()
    bench.now += timedelta(seconds=5)
    moved = bench.put(card, idList=APPROVED)

    assert (moved["idList"], moved["dateLastActivity"]) == (APPROVED, "2026-11-25T12:00:05.000Z")
    [action] = bench.actions(card)
    assert (action["type"], action["idMemberCreator"]) == ("updateCard", BOT)
    assert action["data"]["listBefore"] == {"id": TODO, "name": "Cancellations"}
    assert action["data"]["listAfter"] == {"id": APPROVED, "name": "Approved"}
    assert action["data"]["old"] == {"idList": TODO}
    assert action["display"]["translationKey"] == "action_move_card_from_list_to_list"
    [line] = bench.book("update_card")
    assert line["changed"] == {"idList": APPROVED}
    assert line["target"] == {"board": BOARD, "list": APPROVED, "card": card["id"]}
    assert line["reference"] == "rf-case-77"


def test_several_changes_in_one_call_are_one_line_and_an_action_each(bench: Bench) -> None:
    card = bench.card()
    changes = {
        "name": "[RF-77] refunded",
        "desc": "done\nref: rf-case-77",
        "closed": True,
        "due": "2026-12-01",
        "dueComplete": True,
        "idLabels": [LABEL],
        "pos": "top",
    }
    changed = bench.put(card, **changes)

    assert (changed["name"], changed["closed"], changed["idLabels"]) == ("[RF-77] refunded", True, [LABEL])
    assert (changed["due"], changed["dueComplete"]) == ("2026-12-01T00:00:00.000Z", True)
    [line] = bench.book("update_card")
    assert set(line["changed"]) == set(changes) - {"pos"}
    kinds = [each["display"]["translationKey"] for each in bench.actions(card, filter="all")]
    assert sorted(kinds) == [
        "action_add_label_to_card",
        "action_added_a_due_date",
        "action_archived_card",
        "action_changed_description_of_card",
        "action_create_card",
        "action_marked_the_due_date_complete",
        "action_renamed_card",
    ]


def test_a_put_of_what_is_so_already_is_no_change(bench: Bench) -> None:
    card = bench.card(pos="top")
    for _ in range(2):
        bench.put(card, idList=TODO, name=NAME, desc=DESC, closed=False, due=None, pos="top")

    assert bench.book("update_card") == []
    assert bench.actions(card) == []


def test_a_due_date_is_taken_away_with_null_and_a_label_by_leaving_it_out(bench: Bench) -> None:
    card = bench.card(due="2026-12-01", idLabels=[LABEL])
    changed = bench.put(card, due=None, idLabels="")

    assert (changed["due"], changed["idLabels"]) == (None, [])
    kinds = [each["display"]["translationKey"] for each in bench.actions(card, filter="all")]
    assert kinds[:2] == ["action_remove_label_from_card", "action_removed_a_due_date"]


@pytest.mark.parametrize(
    ("_case", "changes", "said"),
    [
        ("an empty name", {"name": ""}, "invalid value for name"),
        ("no boolean", {"closed": "archived"}, "invalid value for closed"),
        ("an unknown list", {"idList": NOWHERE}, "invalid value for idList"),
        ("no list id", {"idList": ["x"]}, "invalid value for idList"),
        ("another board", {"idBoard": NOWHERE}, "invalid value for idBoard"),
        ("a name beside a bad due date", {"name": "x", "due": 7}, "invalid value for due"),
    ],
)
def test_a_change_that_is_none_leaves_the_card_alone(
    bench: Bench, _case: str, changes: Record, said: str
) -> None:
    card = bench.card()

    assert _refused(bench.call("PUT", f"/cards/{card['id']}", changes)) == (400, said)
    assert bench.get(f"/cards/{card['id']}")["name"] == NAME
    assert bench.book("update_card") == []


def test_labels_and_lists_of_another_board_are_refused(bench: Bench) -> None:
    made = bench.world.seed({"trello": {"boards": [{"name": "Other"}]}})["trello"]
    [other] = made["boards"]
    made = bench.world.seed(
        {"trello": {"lists": [{"name": "There", "board": other}], "labels": [{"name": "x", "board": other}]}}
    )["trello"]
    card = bench.card()

    moved = bench.call("PUT", f"/cards/{card['id']}", {"idList": made["lists"][0]})
    assert _refused(moved) == (400, "invalid value for idList")
    labelled = bench.call("POST", f"/cards/{card['id']}/idLabels", {"value": made["labels"][0]})
    assert _refused(labelled) == (400, "invalid value for value")


def test_a_label_is_added_once_and_then_refused(bench: Bench) -> None:
    card = bench.card()
    first, second = (bench.call("POST", f"/cards/{card['id']}/idLabels", {"value": LABEL}) for _ in range(2))

    assert (first.status_code, first.json) == (200, [LABEL])
    assert _refused(second) == (400, "that label is already on the card")
    assert bench.call("POST", f"/cards/{card['id']}/idLabels", {}).status_code == 400
    [line] = bench.book("add_label")
    assert (line["id"], line["target"]["card"]) == (LABEL, card["id"])

    bench.world.seed({"trello": {"habits": {"refuses_label_twice": False}}})
    third = bench.call("POST", f"/cards/{card['id']}/idLabels", {"value": LABEL})
    assert (third.status_code, third.json) == (200, [LABEL])
    assert len(bench.book("add_label")) == 1


# ---------------------------------------------------------------- custom fields


def test_a_custom_field_is_set_found_again_and_taken_away(bench: Bench) -> None:
    card = bench.card()
    path = f"/cards/{card['id']}/customField/{FIELD}/item"
    for _ in range(2):
        item = bench.call("PUT", path, {"value": {"text": "rf-case-77"}}).json

    assert (item["value"], item["idCustomField"], item["idModel"], item["modelType"]) == (
        {"text": "rf-case-77"},
        FIELD,
        card["id"],
        "card",
    )
    assert bench.get(f"/cards/{card['id']}/customFieldItems") == [item]
    [found] = bench.get(f"/boards/{BOARD}/cards/all", fields="id,name", customFieldItems="true")
    assert found == {"id": card["id"], "name": NAME, "customFieldItems": [item]}
    [line] = bench.book("update_custom_field")
    assert (line["field"], line["value"]) == ("rf_case", {"text": "rf-case-77"})

    bench.call("PUT", path, {"value": ""})
    assert bench.get(f"/cards/{card['id']}/customFieldItems") == []
    assert len(bench.book("update_custom_field")) == 2


@pytest.mark.parametrize(
    ("kind", "value", "is_taken"),
    [
        ("text", {"text": "x"}, True),
        ("text", {"number": "1"}, False),
        ("text", "x", False),
        ("number", {"number": "42.50"}, True),
        ("number", {"number": 42.5}, False),
        ("number", {"number": "many"}, False),
        ("checkbox", {"checked": "true"}, True),
        ("checkbox", {"checked": True}, False),
        ("date", {"date": "2026-12-01T00:00:00Z"}, True),
    ],
)
def test_a_custom_field_takes_values_of_its_own_type(
    bench: Bench, kind: str, value: Any, is_taken: bool
) -> None:
    made = bench.world.seed({"trello": {"custom_fields": [{"name": "amount", "type": kind}]}})["trello"]
    card = bench.card()
    result = bench.call(
        "PUT", f"/cards/{card['id']}/customField/{made['custom_fields'][0]}/item", {"value": value}
    )

    assert result.status_code == (200 if is_taken else 400)
    if not is_taken:
        assert result.text == "Invalid custom field item value."
    assert len(bench.book("update_custom_field")) == int(is_taken)


def test_a_custom_field_is_set_by_json_only_and_must_be_there(bench: Bench) -> None:
    path = f"/cards/{bench.card()['id']}/customField"
    form = {**AUTH, "Content-Type": "application/x-www-form-urlencoded"}
    refused = bench.client.simulate_put(f"/trello/1{path}/{FIELD}/item", body="value=x", headers=form)

    assert _refused(refused) == (400, "Invalid custom field item value.")
    value = {"value": {"text": "x"}}
    assert _refused(bench.call("PUT", f"{path}/{NOWHERE}/item", value)) == (404, NOT_FOUND)
    assert _refused(bench.call("PUT", f"{path}/rf_case/item", value)) == (400, "invalid id")

    bench.world.seed({"trello": {"habits": {"has_custom_fields": False}}})
    assert bench.get(f"/boards/{BOARD}/customFields") == []
    assert bench.call("PUT", f"{path}/{FIELD}/item", value).status_code == 404
    assert bench.book("update_custom_field") == []


# ---------------------------------------------------------------- comments


def test_a_comment_twice_is_two_comments_found_newest_first(bench: Bench) -> None:
    card = bench.card()
    first, second = bench.comment(card), bench.comment(card)

    found = bench.actions(card, filter="commentCard", limit=50)
    assert [each["id"] for each in found] == [second["id"], first["id"]]
    assert [each["data"]["text"] for each in found] == ["refunded\nref rf-op-9f0c"] * 2
    assert found[0]["data"]["card"]["id"] == card["id"]
    assert bench.get(f"/cards/{card['id']}")["badges"]["comments"] == 2
    lines = bench.book("comment_card")
    assert [(line["id"], line["reference"], line["target"]["card"]) for line in lines] == [
        (first["id"], "rf-op-9f0c", card["id"]),
        (second["id"], "rf-op-9f0c", card["id"]),
    ]


def test_a_comment_may_stand_in_the_query_and_needs_a_text_within_its_length(bench: Bench) -> None:
    path = f"/cards/{bench.card()['id']}/actions/comments"

    assert bench.call("POST", path, text="from the query").json["data"]["text"] == "from the query"
    for bad in ({}, {"text": ""}, {"text": 7}, {"text": "x" * 16_385}):
        assert _refused(bench.call("POST", path, bad)) == (400, "invalid value for text")
    assert len(bench.book("comment_card")) == 1


def test_an_own_comment_can_be_edited_and_another_persons_cannot(bench: Bench) -> None:
    card = bench.card()
    own = bench.comment(card)
    for _ in range(2):
        edited = bench.call("PUT", f"/actions/{own['id']}", {"text": "refunded twice\nref rf-op-9f0c"})
        assert edited.json["data"]["text"] == "refunded twice\nref rf-op-9f0c"
    told = bench.world.settle("trello", {"card": card["id"], "comment": "looks fine"})[0]["actions"]

    [line] = bench.book("update_comment")
    assert (line["id"], line["reference"]) == (own["id"], "rf-op-9f0c")
    refused = bench.call("PUT", f"/actions/{told[0]}", {"text": "x"})
    assert _refused(refused) == (401, "unauthorized permission requested")
    assert _refused(bench.call("PUT", f"/actions/{NOWHERE}", {"text": "x"})) == (404, NOT_FOUND)
    assert _refused(bench.call("PUT", "/actions/x", {"text": "x"})) == (400, "invalid id")
    texts = [each["data"]["text"] for each in bench.actions(card, filter="commentCard")]
    assert texts == ["looks fine", "refunded twice\nref rf-op-9f0c"]


def test_actions_come_in_pages_and_without_a_filter_only_comments_and_moves(bench: Bench) -> None:
    card = bench.card()
    ids = [bench.comment(card, f"{number}")["id"] for number in range(5)]
    bench.put(card, name="[RF-77] other")

    assert [each["id"] for each in bench.actions(card)] == ids[::-1]
    assert [each["id"] for each in bench.actions(card, limit=2, page=1)] == [ids[2], ids[1]]
    assert [each["id"] for each in bench.actions(card, filter="commentCard", since=ids[2])] == ids[:2:-1]
    assert [each["id"] for each in bench.actions(card, filter="commentCard", before=ids[1])] == [ids[0]]
    assert len(bench.actions(card, filter="updateCard:name")) == 1
    assert bench.actions(card, filter="updateCard:desc") == []
    assert len(bench.actions(card, filter="all")) == 7


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "1001"), ("limit", "x"), ("page", "20"), ("since", "soon")]
)
def test_a_page_beyond_its_bounds_is_refused(bench: Bench, name: str, value: str) -> None:
    refused = bench.call("GET", f"/cards/{bench.card()['id']}/actions", filter="all", **{name: value})

    assert _refused(refused) == (400, f"invalid value for {name}")


def test_the_boards_actions_since_the_last_one_known_reconcile_missed_webhooks(bench: Bench) -> None:
    card = bench.card()
    known = bench.get(f"/boards/{BOARD}/actions", limit=1)[0]["id"]
    [told] = bench.world.settle("trello", {"card": card["id"], "idList": APPROVED})

    [action] = bench.get(f"/boards/{BOARD}/actions", since=known, filter="updateCard", limit=1000)
    assert [action["id"]] == told["actions"]
    assert action["memberCreator"]["id"] == PERSON


# ---------------------------------------------------------------- finding again


def test_a_card_is_found_by_id_and_by_short_link_with_the_fields_asked_for(bench: Bench) -> None:
    card = bench.card()

    for key in (card["id"], card["shortLink"]):
        assert bench.get(f"/cards/{key}", fields="name,idList,cover") == {
            "id": card["id"],
            "name": NAME,
            "idList": TODO,
        }
    refused = bench.call("GET", f"/cards/{card['id']}", fields="name,nonsense")
    assert _refused(refused) == (400, "invalid value for fields")


@pytest.mark.parametrize("path", ["/cards/{}", "/boards/{}/cards", "/boards/{}/lists", "/lists/{}/cards"])
def test_what_is_not_there_is_a_404_and_what_is_no_id_a_400(bench: Bench, path: str) -> None:
    assert _refused(bench.call("GET", path.format(NOWHERE))) == (404, NOT_FOUND)
    assert _refused(bench.call("GET", path.format("not-an-id"))) == (400, "invalid id")


def test_archived_cards_and_lists_show_where_the_filter_says_so(bench: Bench) -> None:
    shown, archived, hidden = bench.card(), bench.card(), bench.card(idList=DONE)
    bench.put(archived, closed=True)
    bench.put(shown, dueComplete=True)
    bench.world.settle("trello", {"list": DONE, "closed": True})

    def ids(path: str, **query: str) -> set[str]:
        return {each["id"] for each in bench.get(path, **query)}

    every = {shown["id"], archived["id"], hidden["id"]}
    assert ids(f"/boards/{BOARD}/cards") == {shown["id"]}
    assert ids(f"/boards/{BOARD}/cards/visible") == {shown["id"]}
    assert ids(f"/boards/{BOARD}/cards/open") == {shown["id"], hidden["id"]}
    assert ids(f"/boards/{BOARD}/cards/closed") == {archived["id"]}
    assert ids(f"/boards/{BOARD}/cards/all") == every
    assert ids(f"/boards/{BOARD}/cards/none") == set()
    assert ids(f"/boards/{BOARD}/cards/complete") == {shown["id"]}
    assert ids(f"/boards/{BOARD}/cards/incomplete") == {hidden["id"]}
    assert ids(f"/lists/{TODO}/cards") == {shown["id"]}
    assert ids(f"/lists/{TODO}/cards", filter="all") == {shown["id"], archived["id"]}
    refused = bench.call("GET", f"/boards/{BOARD}/cards/some")
    assert _refused(refused) == (400, "invalid value for filter")
    assert [each["name"] for each in bench.get(f"/boards/{BOARD}/lists", filter="closed")] == ["Done"]


def test_an_archived_card_is_still_there_and_takes_changes_and_comments(bench: Bench) -> None:
    card = bench.card()
    bench.put(card, closed=True)
    bench.comment(card)

    assert bench.put(card, idList=DONE)["closed"] is True
    assert bench.put(card, closed=False)["closed"] is False
    assert len(bench.book("update_card")) == 3
    assert len(bench.book("comment_card")) == 1


def test_a_closed_list_takes_cards_or_not_as_the_habit_says(bench: Bench) -> None:
    card = bench.card()
    bench.world.settle("trello", {"list": DONE, "closed": True})
    assert bench.put(card, idList=DONE)["idList"] == DONE
    bench.put(card, idList=TODO)

    bench.world.seed({"trello": {"habits": {"takes_closed_list": False}}})
    for method, path in (("PUT", f"/cards/{card['id']}"), ("POST", "/cards")):
        assert _refused(bench.call(method, path, {"idList": DONE})) == (400, "invalid value for idList")


def test_a_closed_board_can_be_read_and_is_written_as_the_habit_says(bench: Bench) -> None:
    card = bench.card()
    bench.world.settle("trello", {"board": BOARD, "closed": True})
    bench.card()
    assert bench.get(f"/boards/{BOARD}")["closed"] is True
    assert len(bench.get(f"/boards/{BOARD}/cards/all")) == 2

    bench.world.seed({"trello": {"habits": {"takes_closed_board": False}}})
    for method, path in (
        ("POST", "/cards"),
        ("PUT", f"/cards/{card['id']}"),
        ("POST", f"/cards/{card['id']}/actions/comments"),
    ):
        refused = bench.call(method, path, {"idList": TODO, "text": "x"})
        assert _refused(refused) == (401, "unauthorized card permission requested")
    assert len(bench.book()) == 2


def test_a_list_of_cards_ends_at_its_most_and_keeps_the_newest(bench: Bench) -> None:
    ids = [bench.card(pos="top")["id"] for _ in range(4)]
    path = f"/boards/{BOARD}/cards/all"

    assert [each["id"] for each in bench.get(path, limit=2)] == [ids[3], ids[2]]
    assert [each["id"] for each in bench.get(path, limit=2, before=ids[2])] == [ids[1], ids[0]]
    assert _refused(bench.call("GET", path, limit=1001)) == (400, "invalid value for limit")

    bench.world.seed({"trello": {"habits": {"cards_most": 3}}})
    assert [each["id"] for each in bench.get(path)] == ids[:0:-1]


def test_a_date_bounds_a_list_of_cards_by_their_birth(bench: Bench) -> None:
    bench.card()
    bench.now += timedelta(hours=1)
    young = bench.card()

    found = bench.get(f"/boards/{BOARD}/cards", since="2026-11-25T12:30:00Z", before="null")
    assert [each["id"] for each in found] == [young["id"]]


def test_search_shows_a_card_late_and_its_changes_too(bench: Bench) -> None:
    card = bench.card()

    def found(query: str, **more: str) -> list[str]:
        answer = bench.get("/search", query=query, modelTypes="cards", idBoards=BOARD, **more)
        return [each["id"] for each in answer["cards"]]

    assert found("RF-77") == []
    bench.now += timedelta(seconds=60)
    assert found("RF-77") == [card["id"]]
    assert found("RF-7") == []
    assert found("RF-7", partial="true") == [card["id"]]
    bench.put(card, name="[RF-78] renamed")
    bench.comment(card, "a word of comment")
    assert (found("RF-78"), found("comment")) == ([], [])
    bench.world.settle("trello", {"search": "caught_up"})
    assert (found("RF-78 renamed"), found("comment")) == ([card["id"]], [card["id"]])


def test_search_needs_a_query_known_models_and_boards_that_are_there(bench: Bench) -> None:
    for query, said in (
        ({}, (400, "invalid value for query")),
        ({"query": "x", "modelTypes": "lists"}, (400, "invalid value for modelTypes")),
        ({"query": "x", "cards_limit": "0"}, (400, "invalid value for cards_limit")),
        ({"query": "x", "idBoards": NOWHERE}, (404, NOT_FOUND)),
    ):
        assert _refused(bench.call("GET", "/search", **query)) == said
    assert "cards" not in bench.get("/search", query="x", modelTypes="boards")


def test_lists_labels_and_fields_of_the_board_give_their_ids(bench: Bench) -> None:
    lists = bench.get(f"/boards/{BOARD}/lists", fields="name")

    assert {each["name"]: each["id"] for each in lists} == dict(LISTS)
    assert [each["id"] for each in bench.get(f"/boards/{BOARD}/labels")] == [LABEL]
    assert [(each["id"], each["name"]) for each in bench.get(f"/boards/{BOARD}/customFields")] == [
        (FIELD, "rf_case")
    ]


def test_a_path_that_is_not_there_is_said_so(bench: Bench) -> None:
    assert _refused(bench.call("GET", "/cards")) == (404, "Cannot GET /1/cards")


# ---------------------------------------------------------------- seed and settle


def test_seeded_things_are_there_and_not_in_the_book(bench: Bench) -> None:
    made = bench.world.seed(
        {
            "trello": {
                "boards": [{"name": "Theirs", "is_member": False}],
                "lists": [{"name": "Waiting"}],
                "labels": [{"name": "late", "color": "sky"}],
                "people": [{"username": "bob"}],
                "cards": [
                    {"list": TODO, "name": NAME, "labels": [LABEL], "comments": ["by hand"], "closed": True}
                ],
                "webhooks": [{"callbackURL": HOOK}],
            }
        }
    )["trello"]

    card = bench.get(f"/cards/{made['cards'][0]}")
    assert (card["name"], card["closed"], card["badges"]["comments"]) == (NAME, True, 1)
    assert [each["id"] for each in bench.get(f"/tokens/{TOKEN}/webhooks")] == made["webhooks"]
    assert bench.call("GET", f"/boards/{made['boards'][0]}").status_code == 401
    assert [each["id"] for each in bench.get(f"/boards/{BOARD}/labels")][1:] == made["labels"]
    told = {"card": card["id"], "idList": made["lists"][0], "member": made["people"][0]}
    bench.world.settle("trello", told)
    assert bench.actions(card)[0]["memberCreator"]["username"] == "bob"
    assert bench.book() == []


@pytest.mark.parametrize(
    "described",
    [
        {"habits": {"speed": 1}},
        {"cards": [{"name": "no list"}]},
        {"cards": [{"list": TODO, "name": "x", "due": "soon"}]},
        {"lists": [{"name": "x", "board": NOWHERE}]},
        {"custom_fields": [{"name": "x", "type": "list"}]},
    ],
)
def test_a_seed_that_cannot_be_read_is_an_error(bench: Bench, described: Record) -> None:
    with pytest.raises(ValueError, match="cannot seed trello"):
        bench.world.seed({"trello": described})


def test_a_person_drags_renames_and_archives_and_none_of_it_is_in_the_book(bench: Bench) -> None:
    card = bench.card()
    told = bench.world.settle(
        "trello", {"card": card["id"], "idList": APPROVED, "name": "ok", "closed": True}
    )

    assert len(told[0]["actions"]) == 3
    now = bench.get(f"/cards/{card['id']}")
    assert (now["idList"], now["name"], now["closed"]) == (APPROVED, "ok", True)
    assert {each["idMemberCreator"] for each in bench.actions(card)} == {PERSON}
    assert [line["effect"] for line in bench.book()] == ["create_card"]


def test_a_deleted_card_is_gone_and_its_number_is_not_given_again(bench: Bench) -> None:
    card = bench.card()
    bench.world.settle("trello", {"card": card["id"], "deleted": True})

    for method, path in (
        ("GET", f"/cards/{card['id']}"),
        ("PUT", f"/cards/{card['id']}"),
        ("POST", f"/cards/{card['id']}/actions/comments"),
    ):
        assert _refused(bench.call(method, path, {"text": "x"})) == (404, NOT_FOUND)
    assert bench.card()["idShort"] == 2


@pytest.mark.parametrize(
    ("settled", "error"),
    [
        ({"card": NOWHERE, "name": "x"}, NoSuchObjectError),
        ({"list": NOWHERE, "closed": True}, NoSuchObjectError),
        ({"token": "old"}, NoSuchObjectError),
        ({"search": "caught_up", "member": NOWHERE}, NoSuchObjectError),
    ],
)
def test_settling_what_is_not_there_is_an_error(
    bench: Bench, settled: Record, error: type[Exception]
) -> None:
    with pytest.raises(error):
        bench.world.settle("trello", settled)


def test_settling_a_change_that_is_none_is_an_error(bench: Bench) -> None:
    id = bench.card()["id"]

    for change in ({"colour": "red"}, {"idList": NOWHERE}):
        with pytest.raises(ValueError, match="change"):
            bench.world.settle("trello", {"card": id, **change})


# ---------------------------------------------------------------- webhooks


def test_the_signature_is_the_one_of_the_sheets_vector(bench: Bench) -> None:
    body = b'{"action":{"id":"a1","type":"updateCard"},"model":{"id":"m1"}}'
    url, secret = "https://hooks.example.com/trello", "rf-test-oauth-secret"

    delivery = bench.trello.sign(Event("a1", "updateCard", body), url, secret)
    assert delivery.headers["X-Trello-Webhook"] == "gLBFB0c5cJo4sn6Ye/IgzrYhrUg="
    assert delivery.body == body
    assert signature_of(secret, body, f"{url}/") != delivery.headers["X-Trello-Webhook"]


def test_a_webhook_is_made_after_its_callback_answered_a_head(bench: Bench) -> None:
    hook = bench.hook(description="refundflow").json

    assert bench.probed == [HOOK]
    assert hook == {
        "id": hook["id"],
        "description": "refundflow",
        "idModel": BOARD,
        "callbackURL": HOOK,
        "active": True,
        "consecutiveFailures": 0,
        "firstConsecutiveFailDate": None,
    }
    assert bench.get(f"/webhooks/{hook['id']}") == hook
    assert bench.get(f"/tokens/{TOKEN}/webhooks") == [hook]
    [line] = bench.book()
    assert (line["effect"], line["id"], line["reference"]) == ("create_webhook", hook["id"], "refundflow")
    assert line["target"] == {"model": BOARD, "url": HOOK}


def test_a_callback_without_a_200_gets_no_webhook(bench: Bench) -> None:
    bench.status = 405
    refused = bench.hook()

    assert refused.status_code == 400
    assert refused.json == {
        "message": f"URL ({HOOK}) did not return 200 status code, got 405",
        "error": "VALIDATOR_URL_RETURNED_ERROR",
    }
    assert bench.book() == []
    assert bench.get(f"/tokens/{TOKEN}/webhooks") == []


def test_the_same_webhook_twice_is_refused(bench: Bench) -> None:
    bench.hook()

    said = "A webhook with that callback, model, and token already exists"
    assert _refused(bench.hook(description="again")) == (400, said)
    assert len(bench.book("create_webhook")) == 1
    assert bench.hook(idModel=bench.card()["id"]).status_code == 200


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"callbackURL": None}, "invalid value for callbackURL"),
        ({"callbackURL": "rf.example/hook"}, "invalid value for callbackURL"),
        ({"idModel": NOWHERE}, "invalid value for idModel"),
        ({"idModel": ["x"]}, "invalid value for idModel"),
        ({"active": "yes"}, "invalid value for active"),
        ({"description": "x" * 16_385}, "invalid value for description"),
    ],
)
def test_a_webhook_that_is_none_is_refused(bench: Bench, changed: Record, said: str) -> None:
    assert _refused(bench.hook(**changed)) == (400, said)
    assert bench.book() == []


def test_a_webhook_is_changed_and_deleted(bench: Bench) -> None:
    id = bench.hook().json["id"]
    for _ in range(2):
        changed = bench.call("PUT", f"/webhooks/{id}", {"active": False, "callbackURL": f"{HOOK}/2"}).json

    assert (changed["active"], changed["callbackURL"]) == (False, f"{HOOK}/2")
    assert len(bench.book("update_webhook")) == 1
    assert bench.call("DELETE", f"/webhooks/{id}").status_code == 200
    assert _refused(bench.call("GET", f"/webhooks/{id}")) == (404, NOT_FOUND)
    assert _refused(bench.call("GET", "/webhooks/x")) == (400, "invalid id")
    assert len(bench.book("delete_webhook")) == 1


def test_a_webhook_of_another_token_is_not_ours(bench: Bench) -> None:
    made = bench.world.seed({"trello": {"webhooks": [{"callbackURL": HOOK, "is_ours": False}]}})["trello"]
    [id] = made["webhooks"]

    for method in ("GET", "PUT", "DELETE"):
        assert _refused(bench.call(method, f"/webhooks/{id}")) == (401, "webhook does not belong to token")
    assert bench.get(f"/tokens/{TOKEN}/webhooks") == []
    assert _refused(bench.call("GET", "/tokens/other/webhooks")) == (401, "invalid token")
    assert bench.hook().status_code == 200


def test_a_drag_is_posted_to_the_boards_webhook_signed_with_the_applications_secret(bench: Bench) -> None:
    card = bench.card()
    id = bench.hook().json["id"]
    [told] = bench.world.settle("trello", {"card": card["id"], "idList": APPROVED})
    assert bench.posted == []
    bench.run_waiting()

    [(url, headers, body)] = bench.posted
    assert url == HOOK
    digest = hmac.new(SECRET.encode(), body + HOOK.encode(), hashlib.sha1).digest()
    assert headers["X-Trello-Webhook"] == base64.b64encode(digest).decode()
    payload = json.loads(body)
    assert [payload["action"]["id"]] == told["actions"]
    assert payload["action"]["data"]["listAfter"] == {"id": APPROVED, "name": "Approved"}
    assert payload["action"]["memberCreator"]["id"] == PERSON
    assert (payload["model"]["id"], payload["webhook"]["id"]) == (BOARD, id)
    check_document(specs("trello") / "webhook.request.schema.json", payload)


def test_a_cards_webhook_hears_of_that_card_alone(bench: Bench) -> None:
    card, other = bench.card(), bench.card()
    bench.hook(idModel=card["id"])
    bench.comment(other)
    bench.comment(card)
    bench.run_waiting()

    [(_, _, body)] = bench.posted
    payload = json.loads(body)
    assert (payload["action"]["type"], payload["model"]["id"]) == ("commentCard", card["id"])


def test_an_inactive_webhook_hears_nothing(bench: Bench) -> None:
    bench.hook(active=False)
    bench.card()

    assert bench.run_waiting() == []
    assert bench.posted == []


def test_a_failed_delivery_is_tried_three_more_times_with_the_same_bytes(bench: Bench) -> None:
    id = bench.hook().json["id"]
    bench.status = 500
    bench.card()

    assert [bench.run_waiting() for _ in range(5)] == [[0.0], [30.0], [60.0], [120.0], []]
    assert len(bench.posted) == 4
    assert len({(headers["X-Trello-Webhook"], body) for _, headers, body in bench.posted}) == 1
    hook = bench.get(f"/webhooks/{id}")
    assert (hook["consecutiveFailures"], hook["active"]) == (4, True)
    assert hook["firstConsecutiveFailDate"] == "2026-11-25T12:00:00.000Z"

    bench.status = 200
    bench.card()
    bench.run_waiting()
    hook = bench.get(f"/webhooks/{id}")
    assert (hook["consecutiveFailures"], hook["firstConsecutiveFailDate"]) == (0, None)


def test_a_webhook_that_fails_for_thirty_days_is_switched_off_until_switched_on(bench: Bench) -> None:
    bench.world.seed({"trello": {"habits": {"retry_waits_s": []}}})
    id = bench.hook().json["id"]
    bench.status = 0
    for days in (0, 30):
        bench.now = START + timedelta(days=days)
        bench.card()
        bench.run_waiting()
    assert bench.get(f"/webhooks/{id}")["active"] is False

    hook = bench.call("PUT", f"/webhooks/{id}", {"active": True}).json
    assert (hook["active"], hook["consecutiveFailures"]) == (True, 0)


def test_too_many_failures_in_a_row_switch_a_webhook_off_where_the_habit_says_so(bench: Bench) -> None:
    bench.world.seed({"trello": {"habits": {"hook_failures_most": 2}}})
    id = bench.hook().json["id"]
    bench.status = 503
    bench.card()

    assert [bench.run_waiting() for _ in range(3)] == [[0.0], [30.0], []]
    assert bench.get(f"/webhooks/{id}")["active"] is False


@pytest.mark.parametrize(("drops", "left"), [(True, 0), (False, 1)])
def test_a_410_deletes_the_webhook_where_the_habit_says_so(bench: Bench, drops: bool, left: int) -> None:
    bench.world.seed({"trello": {"habits": {"drops_hook_on_410": drops}}})
    bench.hook()
    bench.status = 410
    bench.card()
    bench.run_waiting()

    assert len(bench.get(f"/tokens/{TOKEN}/webhooks")) == left
    assert len(bench.waiting) == left


def test_a_subscription_at_the_controls_hears_the_topics_it_names(bench: Bench) -> None:
    bench.world.webhooks.subscribe(
        "trello", Subscription("http://rf.example/t", "practice-secret", topics=("updateCard",))
    )
    card = bench.card()
    bench.put(card, idList=APPROVED)
    bench.comment(card)
    bench.world.webhooks.wait_idle()
    bench.world.close()

    [(url, headers, body)] = bench.posted
    assert headers["X-Trello-Webhook"] == signature_of("practice-secret", body, url)
    assert json.loads(body)["action"]["type"] == "updateCard"


def test_an_event_can_be_asked_for_by_action_or_card(bench: Bench) -> None:
    card = bench.card()
    comment = bench.comment(card)
    bench.call("PUT", f"/actions/{comment['id']}", {"text": "edited"})

    event = bench.trello.event_for("commentCard", card["id"])
    assert (event.id, event.topic) == (comment["id"], "commentCard")
    assert event.body["action"]["data"]["text"] == "refunded\nref rf-op-9f0c"
    assert bench.trello.event_for("commentCard", comment["id"]) is event
    edited = bench.trello.event_for("updateComment", card["id"])
    assert edited.body["action"]["data"]["old"] == {"text": "refunded\nref rf-op-9f0c"}
    with pytest.raises(NoSuchObjectError, match="deleteCard"):
        bench.trello.event_for("deleteCard", card["id"])


def test_the_probe_asks_with_head_and_gives_0_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    class Connection:
        def __init__(self, place: str, timeout: float) -> None:
            self.place, self.status = place, 200

        def request(self, method: str, path: str) -> None:
            asked.append((method, self.place, path))
            if self.place == "nobody.example":
                raise ConnectionRefusedError

        def getresponse(self) -> Connection:
            return self

        def close(self) -> None:
            pass

    monkeypatch.setattr("http.client.HTTPSConnection", Connection)

    assert trello.head("https://rf.example/hooks?b=1") == 200
    assert trello.head("https://nobody.example") == 0
    assert asked == [("HEAD", "rf.example", "/hooks?b=1"), ("HEAD", "nobody.example", "/")]


# ---------------------------------------------------------------- faults and descriptions


def test_a_reply_lost_after_the_creation_can_be_found_on_the_board_at_once(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LOST_REPLY, "trello", "create_card"))

    with pytest.raises(ConnectionCutError):
        bench.card()
    [found] = bench.get(f"/boards/{BOARD}/cards/all", fields="id,name,desc")
    assert (found["name"], found["desc"]) == (NAME, DESC)
    assert len(bench.book("create_card")) == 1


def test_a_429_names_its_limit_and_no_time_to_wait(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "trello", "create_card", status=429))
    bench.world.faults.add(
        Fault(Kind.STATUS, "trello", "create_card", status=429, code="API_KEY_LIMIT_EXCEEDED")
    )
    first, second = (bench.call("POST", "/cards", {"idList": TODO}) for _ in range(2))

    assert first.json == {"error": "API_TOKEN_LIMIT_EXCEEDED", "message": "Rate limit exceeded"}
    assert second.json["error"] == "API_KEY_LIMIT_EXCEEDED"
    assert (first.status_code, "retry-after" in first.headers) == (429, False)
    assert bench.book() == []


def test_a_500_after_the_effect_leaves_a_card(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "trello", "create_card", status=500, is_after_effect=True))

    assert bench.call("POST", "/cards", {"idList": TODO}).status_code == 500
    assert len(bench.book("create_card")) == 1


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("", 400, "invalid id"),
        (NOT_FOUND, 404, NOT_FOUND),
        ("unauthorized card permission requested", 401, "unauthorized card permission requested"),
    ],
)
def test_a_fault_can_name_the_refusal(bench: Bench, code: str, status: int, said: str) -> None:
    bench.world.faults.add(Fault(Kind.REFUSE, "trello", "create_card", code=code))

    assert _refused(bench.call("POST", "/cards", {"idList": TODO})) == (status, said)
    assert bench.book() == []


def test_a_fault_can_refuse_the_token(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.REFUSE_AUTH, "trello", "get_me"))

    assert _refused(bench.call("GET", "/members/me")) == (401, "invalid token")


def test_answers_fit_the_published_description(bench: Bench) -> None:
    spec = specs("trello") / "trello.openapi.json"
    # The file says that a card's `labels` are bare ids, where the vendor gives whole labels: hence a card without.
    card = bench.card()
    comment = bench.comment(card)
    item = bench.call("PUT", f"/cards/{card['id']}/customField/{FIELD}/item", {"value": {"text": "x"}}).json
    hook = bench.hook().json

    check_response(spec, "POST", "/cards", 200, card)
    check_response(spec, "GET", "/cards/{id}", 200, bench.get(f"/cards/{card['id']}"))
    check_response(spec, "PUT", "/cards/{id}", 200, bench.put(card, idList=DONE, due="2026-12-01"))
    check_response(spec, "GET", "/lists/{id}/cards", 200, bench.get(f"/lists/{DONE}/cards"))
    check_response(spec, "GET", "/boards/{id}/lists", 200, bench.get(f"/boards/{BOARD}/lists"))
    check_response(spec, "POST", "/cards/{id}/actions/comments", 200, comment)
    check_response(spec, "GET", "/cards/{id}/actions", 200, bench.actions(card, filter="all"))
    check_document(spec, item, "/components/schemas/CustomFieldItems")
    fields = bench.get(f"/boards/{BOARD}/customFields")
    check_response(spec, "GET", "/boards/{id}/customFields", 200, fields)
    [label] = bench.get(f"/boards/{BOARD}/labels")
    check_document(spec, label, "/components/schemas/Label")
    check_response(spec, "POST", "/webhooks/", 200, hook)
    hooks = bench.get(f"/tokens/{TOKEN}/webhooks")
    check_response(spec, "GET", "/tokens/{token}/webhooks", 200, hooks)
    check_document(spec, bench.get("/members/me"), "/components/schemas/Member")


def test_a_reset_forgets_cards_webhooks_and_book(bench: Bench) -> None:
    bench.card()
    bench.hook()
    bench.world.reset("trello")

    assert bench.book() == []
    assert bench.get(f"/boards/{BOARD}/cards/all") == []
    assert bench.get(f"/tokens/{TOKEN}/webhooks") == []
