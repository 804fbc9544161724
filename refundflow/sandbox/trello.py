"""A practice Trello: cards of boards, their comments, labels and custom fields, search, and webhooks under `/trello/1/`.

API 1. Shapes: the vendor's OpenAPI file (copy of 2026-04-14) and https://developer.atlassian.com/cloud/trello, read 2026-11-25;
wordings of errors as public clients have met them. Where they are silent, `Habits` names the practised reading.

Strict about: key and token (`Authorization: OAuth …` or `key` and `token` in the query) and the token's scopes, ids of 24 hex digits,
lengths, dates, booleans, labels and lists of the card's own board, a label that is already there, types of custom fields (JSON
only, numbers as texts), the HEAD probe of a callback, one webhook for each callback, model and token. Errors are plain text, some
JSON. Unknown parameters are passed over. Nothing is idempotent but a PUT of what is so already, which also tells nobody: two equal
cards are two cards. Search shows a card late, by `Habits.search_lag_s`; lists of cards show it at once. Lists stop at
`Habits.cards_most`, the newest stay. A card stays on its board. No rate is counted; a status fault 429 has the vendor's words, with
API_TOKEN_LIMIT_EXCEEDED or what the fault's `code` says.

`seed({"boards"?: [{"id"?, "name", "closed"?, "is_member"?}], "lists"?: [{"id"?, "name", "board"?, "closed"?}], "labels"?: [{"id"?, "name",
"board"?, "color"?}], "custom_fields"?: [{"id"?, "name", "board"?, "type"?}], "people"?: [{"id"?, "username", "fullName"?}], "cards"?:
[{"id"?, "list", "name", "desc"?, "closed"?, "labels"?: [id], "due"?, "dueComplete"?, "comments"?: [text]}], "webhooks"?: [{"id"?,
"callbackURL", "idModel"?, "active"?, "is_ours"?}], "scopes"?: ["read", "write"], "habits"?: {…}})` returns the ids made, by the same
names. A fresh world has the board `BOARD` with the lists `LISTS`, the label `LABEL`, the text field `FIELD` and the members
`BOT` and `PERSON`. Seeded things are not in the book and send no events.

`settle`, as a person at the board would, "member" (default `PERSON`) says who: `{"card": id, "idList" | "name" | "desc" | "closed" | "due"
| "dueComplete" | "pos": …}` (one or several), `{"card": id, "comment": text}`, `{"card": id, "deleted": true}`. Also `{"list": id, "closed":
bool}`, `{"board": id, "closed" | "is_member": bool}`, `{"token": "revoked" | "read_only" | "valid"}` and `{"search": "caught_up"}`. What
people do is told to whoever subscribed and is not in the book.

Webhooks: the API's own, signed with `SECRET`, and a subscription at the controls; topics are the types of actions. `probe` is what
asks a callback with HEAD and gives its status; a test may put its own there.

Book: `create_card`, `update_card` (one a call, `changed` has what), `comment_card`, `update_comment`, `add_label`,
`update_custom_field`, `create_webhook`, `update_webhook`, `delete_webhook`. `reference` is the last line `ref: …` of the description or the
comment, else what stands in brackets before the card's name.
"""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import hmac
import http.client
import itertools
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import urlsplit

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    NoSuchObjectError,
    Operation,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

API_KEY: Final = "practice-trello-key"
TOKEN: Final = "practice-trello-token"  # noqa: S105 (a practice secret, known to everybody)
SECRET: Final = "practice-trello-oauth-secret"  # noqa: S105 (likewise)
BOARD: Final = "5f00000000000000000000b0"
LISTS: Final[Mapping[str, str]] = {
    "Cancellations": "5f00000000000000000000a1",
    "Approved": "5f00000000000000000000a2",
    "Rejected": "5f00000000000000000000a3",
    "Done": "5f00000000000000000000a4",
}
LABEL: Final = "5f00000000000000000000c1"
FIELD: Final = "5f00000000000000000000f1"
BOT: Final = "5f00000000000000000000d1"
PERSON: Final = "5f00000000000000000000d2"

TEXT_MOST: Final = 16_384
LIMIT_MOST: Final = 1_000
ACTIONS_PAGE: Final = 50
PAGE_MOST: Final = 19
NOT_FOUND: Final = "The requested resource was not found."

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")
_SHORT_LINK: Final = re.compile(r"[0-9A-Za-z]{8}")
_REFERENCE: Final = re.compile(r"^ref:?[ \t]+(\S+)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_MARKER: Final = re.compile(r"\[([^\]]+)\]")
_GAP: Final = 16_384.0
_FILTERS: Final = ("all", "closed", "complete", "incomplete", "none", "open", "visible")
_MODELS: Final = ("all", "actions", "boards", "cards", "members", "organizations")
_FORM: Final = "application/x-www-form-urlencoded"
_DISPLAYS: Final = {
    "createCard": "action_create_card",
    "commentCard": "action_comment_on_card",
    "updateComment": "action_update_comment",
    "deleteCard": "action_delete_card",
    "addLabelToCard": "action_add_label_to_card",
    "removeLabelFromCard": "action_remove_label_from_card",
    "updateCustomFieldItem": "action_update_custom_field_item",
    "idList": "action_move_card_from_list_to_list",
    "name": "action_renamed_card",
    "desc": "action_changed_description_of_card",
    "due": "action_changed_a_due_date",
    "pos": "action_moved_card_lower",
}
# Fields of a card that the vendor has and that are not practised: asked for, they are left out instead of refused.
_OTHER_FIELDS: Final = frozenset(
    (
        "address",
        "checkItemStates",
        "coordinates",
        "cover",
        "creationMethod",
        "dueReminder",
        "email",
        "limits",
        "idAttachmentCover",
        "idMembersVoted",
        "locationName",
        "manualCoverAttachment",
        "start",
        "subscribed",
    )
)


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or what a rehearsal wants otherwise.

    `search_lag_s`: how long after a change search finds the new words. `cards_most`: what one list of cards holds.
    `open_cards_most`: open cards a board takes (the refusal's wording is ours). `has_custom_fields`: False where the plan has
    none: the board lists no fields and their paths find nothing. `refuses_label_twice`: else the card's labels come back.
    `takes_closed_list`, `takes_closed_board`: whether an archived list gets cards, which then nobody sees, and a closed board
    can be written. `retry_waits_s`: before each further try of a webhook. `drops_hook_on_410`: such an answer deletes the
    webhook. `hook_failures_most`, `hook_days_most`: what switches one off, in a row.
    """

    search_lag_s: float = 60.0
    cards_most: int = 1_000
    open_cards_most: int = 5_000
    has_custom_fields: bool = True
    refuses_label_twice: bool = True
    takes_closed_list: bool = True
    takes_closed_board: bool = True
    retry_waits_s: Sequence[float] = (30.0, 60.0, 120.0)
    drops_hook_on_410: bool = True
    hook_failures_most: int = 1_000
    hook_days_most: int = 30


@dataclass(slots=True)
class Hook:
    """A webhook made through the API. `is_ours`: belongs to the practice token."""

    id: str
    model: str
    url: str
    description: str = ""
    active: bool = True
    failures: int = 0
    failing_since: datetime | None = None
    is_ours: bool = True

    def shown(self) -> Record:
        return {
            "id": self.id,
            "description": self.description,
            "idModel": self.model,
            "callbackURL": self.url,
            "active": self.active,
            "consecutiveFailures": self.failures,
            "firstConsecutiveFailDate": _stamp(self.failing_since) if self.failing_since else None,
        }


def fail(said: str | Record, status: int = 400) -> NoReturn:
    """Ends the call with the vendor's error: a text, or JSON where the vendor uses that."""
    raise RefusalError(_refusal(said, status))


def signature_of(secret: str, body: bytes, url: str) -> str:
    """A webhook's signature, in base64: over the raw body followed by the callback's address as registered."""
    return base64.b64encode(hmac.new(secret.encode(), body + url.encode(), hashlib.sha1).digest()).decode()


def head(url: str) -> int:
    """Asks an address with HEAD and returns the status; 0 where no answer came (refused, bad certificate, too slow: 5 s)."""
    parts = urlsplit(url)
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.netloc, timeout=5)
    try:
        path = parts.path or "/"
        connection.request("HEAD", f"{path}?{parts.query}" if parts.query else path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


class Trello(Vendor):
    """See the module's docstring; boards, lists, labels, fields, cards and actions are Trello-shaped dicts by id."""

    name: ClassVar[str] = "trello"

    def __init__(self, world: World) -> None:
        # Ids begin with their second and then count up, as the vendor's do: of two cards the older has the lesser id.
        self._salt = f"{random.getrandbits(40):010x}"
        self._counter = itertools.count(1)
        self.probe: Callable[[str], int] = head
        super().__init__(world)
        self._routes = (
            Route("GET", "/1/members/me", "get_me", self._get_me),
            Route("GET", "/1/boards/{id}", "get_board", self._get_board),
            Route("GET", "/1/boards/{id}/lists", "list_lists", self._list_lists),
            Route("GET", "/1/boards/{id}/labels", "list_labels", self._list_labels),
            Route("GET", "/1/boards/{id}/customFields", "list_custom_fields", self._list_fields),
            Route("GET", "/1/boards/{id}/cards", "list_board_cards", self._list_board_cards),
            Route("GET", "/1/boards/{id}/cards/{filter}", "list_board_cards", self._list_board_cards),
            Route("GET", "/1/boards/{id}/actions", "list_board_actions", self._list_board_actions),
            Route("GET", "/1/lists/{id}/cards", "list_list_cards", self._list_list_cards),
            Route("POST", "/1/cards", "create_card", self._create_card),
            Route("GET", "/1/cards/{id}", "get_card", self._get_card),
            Route("PUT", "/1/cards/{id}", "update_card", self._update_card),
            Route("GET", "/1/cards/{id}/actions", "list_card_actions", self._list_card_actions),
            Route("POST", "/1/cards/{id}/actions/comments", "comment_card", self._comment_card),
            Route("PUT", "/1/actions/{id}", "update_comment", self._update_comment),
            Route("POST", "/1/cards/{id}/idLabels", "add_label", self._add_label),
            Route("GET", "/1/cards/{id}/customFieldItems", "list_field_items", self._list_items),
            Route("PUT", "/1/cards/{id}/customField/{field}/item", "update_custom_field", self._set_field),
            Route("GET", "/1/search", "search", self._search),
            Route("POST", "/1/webhooks", "create_webhook", self._create_hook),
            Route("GET", "/1/webhooks/{id}", "get_webhook", self._get_hook),
            Route("PUT", "/1/webhooks/{id}", "update_webhook", self._update_hook),
            Route("DELETE", "/1/webhooks/{id}", "delete_webhook", self._delete_hook),
            Route("GET", "/1/tokens/{token}/webhooks", "list_webhooks", self._list_hooks),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def find(self, call: Call) -> Operation:
        """A slash at the end of a path makes no difference."""
        return super().find(replace(call, path=call.path.rstrip("/") or "/"))

    def clear(self) -> None:
        self.habits = Habits()
        self.scopes = frozenset(("read", "write"))
        self.is_revoked = False
        self.boards: dict[str, Record] = {}
        self.outside: set[str] = set()
        self.lists: dict[str, Record] = {}
        self.labels: dict[str, Record] = {}
        self.fields: dict[str, Record] = {}
        self.people: dict[str, Record] = {}
        self.cards: dict[str, Record] = {}
        self.items: dict[str, dict[str, Record]] = {}
        self.actions: list[Record] = []
        self.hooks: dict[str, Hook] = {}
        self._numbers: dict[str, int] = {}
        self._comments: dict[str, list[Record]] = {}
        self._words: dict[str, list[tuple[datetime, str]]] = {}
        self._caught_up = datetime.min.replace(tzinfo=UTC)
        self._events: dict[str, Event] = {}
        self._make_board({"id": BOARD, "name": "Cancellations"})
        for name, id in LISTS.items():
            self._make_list({"id": id, "name": name})
        self._make_label({"id": LABEL, "name": "refund", "color": "red"})
        self._make_field({"id": FIELD, "name": "rf_case"})
        self._make_person({"id": BOT, "username": "refundflow", "fullName": "Refundflow Bot"})
        self._make_person({"id": PERSON, "username": "ada", "fullName": "Ada Ops"})

    # ------------------------------------------------------------ the controls

    def seed(self, data: Record) -> Record:
        makers: dict[str, Callable[[Record], str]] = {
            "boards": self._make_board,
            "lists": self._make_list,
            "labels": self._make_label,
            "custom_fields": self._make_field,
            "people": self._make_person,
            "cards": self._make_card,
            "webhooks": self._make_hook,
        }
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.scopes = frozenset(data.get("scopes", self.scopes))
            return {
                name: [make(each) for each in data[name]] for name, make in makers.items() if name in data
            }
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed trello: {wrong!r}") from wrong

    def settle(self, data: Record) -> Record:
        member = data.get("member", PERSON)
        if member not in self.people:
            raise NoSuchObjectError(f"trello has no member {member!r}")
        match {name: value for name, value in data.items() if name != "member"}:
            case {"card": str(id), **rest} if id in self.cards and rest:
                return self._settle_card(self.cards[id], rest, member)
            case {"list": str(id), "closed": bool(closed)} if id in self.lists:
                self.lists[id]["closed"] = closed
            case {"board": str(id), "closed": bool(closed)} if id in self.boards:
                self.boards[id]["closed"] = closed
            case {"board": str(id), "is_member": bool(is_member)} if id in self.boards:
                (self.outside.discard if is_member else self.outside.add)(id)
            case {"token": "revoked" | "read_only" | "valid" as state}:
                self.is_revoked = state == "revoked"
                self.scopes = frozenset(("read",) if state == "read_only" else ("read", "write"))
            case {"search": "caught_up"}:
                self._caught_up = self.world.clock()
            case _:
                raise NoSuchObjectError(
                    "trello settles a card, list or board that it has, the token or search"
                )
        return dict(data)

    def _settle_card(self, card: Record, rest: Record, member: str) -> Record:
        match rest:
            case {"deleted": True}:
                del self.cards[card["id"]]
                return {"actions": [self._happen("deleteCard", card, member)["id"]]}
            case {"comment": str(text)}:
                return {"actions": [self._happen("commentCard", card, member, text=text)["id"]]}
        known = {"idList", "name", "desc", "closed", "due", "dueComplete", "pos"}
        if strange := sorted(set(rest) - known):
            raise ValueError(f"nobody changes {', '.join(strange)} of a card; {', '.join(sorted(known))}")
        before = len(self.actions)
        try:
            self._change(card, self._read_card(rest, card["idBoard"], card), member)
        except RefusalError as refused:
            raise ValueError(f"trello takes no such change: {refused.answer.body}") from refused
        return {"actions": [each["id"] for each in self.actions[before:]]}

    def _make_board(self, given: Record) -> str:
        id = given.get("id") or self._fresh()
        link = self.mint(length=8)
        self.boards[id] = {
            "id": id,
            "name": given["name"],
            "desc": "",
            "descData": None,
            "closed": given.get("closed", False),
            "url": f"https://trello.com/b/{link}/{_slug(given['name'])}",
            "shortUrl": f"https://trello.com/b/{link}",
            "shortLink": link,
            "prefs": {"permissionLevel": "private", "comments": "members"},
        }
        if not given.get("is_member", True):
            self.outside.add(id)
        return str(id)

    def _make_list(self, given: Record) -> str:
        id, board = given.get("id") or self._fresh(), self.boards[given.get("board", BOARD)]["id"]
        pos = _GAP * (1 + sum(each["idBoard"] == board for each in self.lists.values()))
        closed = given.get("closed", False)
        self.lists[id] = {
            "id": id,
            "name": given["name"],
            "closed": closed,
            "pos": pos,
            "idBoard": board,
            "subscribed": False,
        }
        return str(id)

    def _make_label(self, given: Record) -> str:
        id, board = given.get("id") or self._fresh(), self.boards[given.get("board", BOARD)]["id"]
        color = given.get("color", "green")
        self.labels[id] = {"id": id, "idBoard": board, "name": given["name"], "color": color}
        return str(id)

    def _make_field(self, given: Record) -> str:
        id, board = given.get("id") or self._fresh(), self.boards[given.get("board", BOARD)]["id"]
        kind = given.get("type", "text")
        if kind not in ("text", "number", "checkbox", "date"):
            raise ValueError(f"cannot seed trello: no field of type {kind!r} is practised")
        self.fields[id] = {
            "id": id,
            "idModel": board,
            "modelType": "board",
            "fieldGroup": hashlib.sha256(id.encode()).hexdigest(),
            "display": {"cardFront": True},
            "name": given["name"],
            "pos": _GAP,
            "type": kind,
        }
        return str(id)

    def _make_person(self, given: Record) -> str:
        id, name = given.get("id") or self._fresh(), given["username"]
        self.people[id] = {"id": id, "username": name, "fullName": given.get("fullName", name)}
        return str(id)

    def _make_card(self, given: Record) -> str:
        names = {"name", "desc", "closed", "due", "dueComplete"}
        wanted = {name: value for name, value in given.items() if name in names}
        wanted |= {"idList": given["list"], "idLabels": given.get("labels", [])}
        try:
            checked = self._read_card(wanted, self.lists[given["list"]]["idBoard"])
        except RefusalError as refused:
            raise ValueError(f"cannot seed trello: {refused.answer.body}") from refused
        card = self._new_card(checked, given.get("id"))
        self._happen("createCard", card, BOT, is_told=False)
        for text in given.get("comments", ()):
            self._happen("commentCard", card, PERSON, is_told=False, text=text)
        return str(card["id"])

    def _make_hook(self, given: Record) -> str:
        hook = Hook(given.get("id") or self._fresh(), given.get("idModel", BOARD), given["callbackURL"])
        hook.active, hook.is_ours = given.get("active", True), given.get("is_ours", True)
        self.hooks[hook.id] = hook
        return hook.id

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """Key and token, from the header or the query; what changes something needs the token's write scope."""
        key, token = _credentials(call)
        is_write = call.method != "GET"
        if not token:
            if key or is_write:
                return _refusal({"message": "missing scopes"}, 401)
            what = "card " if call.path.startswith("/1/cards") else ""
            return _refusal(f"unauthorized {what}permission requested", 401)
        if not hmac.compare_digest(key.encode(), API_KEY.encode()):
            return _refusal("invalid key", 401)
        if self.is_revoked or not hmac.compare_digest(token.encode(), TOKEN.encode()):
            return self.unauthorised(call)
        if ("write" if is_write else "read") not in self.scopes:
            return _refusal({"message": "missing scopes"}, 401)
        return None

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _refusal("invalid token", 401)

    def refuse(self, call: Call) -> Answer:
        """The fault's `code` is the text; its status is the one that the vendor says it with."""
        said = (call.fault.code if call.fault is not None else "") or "invalid id"
        if said.startswith(("unauthorized", "invalid key", "invalid token")):
            return _refusal(said, 401)
        return _refusal(said, 404 if said == NOT_FOUND else 400)

    def not_found(self, call: Call) -> Answer:
        return Answer(404, f"Cannot {call.method} {call.path}", content_type="text/html; charset=utf-8")

    def failure(self, call: Call, status: int) -> Any:
        """A 429 names the limit and says nothing about when to come again."""
        code = call.fault.code if call.fault is not None else ""
        if status == 429:
            return {"error": code or "API_TOKEN_LIMIT_EXCEEDED", "message": "Rate limit exceeded"}
        return {"message": "Internal Server Error", "error": code or "ERROR"}

    # ------------------------------------------------------------ cards written

    def _create_card(self, call: Call) -> Answer:
        asked = _arguments(call)
        id = asked.get("idList")
        if not (isinstance(id, str) and _ID.fullmatch(id)):
            fail("invalid value for idList")
        if id not in self.lists:
            fail(NOT_FOUND, 404)
        board = self.lists[id]["idBoard"]
        self._check_writable(board, "card ")
        # A card begins open: the vendor has no such parameter here and passes it over.
        checked = self._read_card({**asked, "closed": False}, board)
        source = asked.get("urlSource")
        if source and not (isinstance(source, str) and re.match(r"https?://\S", source)):
            fail("invalid value for urlSource")
        opened = sum(each["idBoard"] == board and not each["closed"] for each in self.cards.values())
        if opened >= self.habits.open_cards_most:
            fail("Too many open cards on this board")
        card = self._new_card(checked)
        if source:
            card["attachments"].append(
                {"id": self._fresh(), "name": source, "url": source, "isUpload": False, "idMember": BOT}
            )
        self._happen("createCard", card, BOT)
        self._write("create_card", card["id"], card, name=card["name"], desc=card["desc"])
        return Answer(200, {**self._shown(card), "attachments": card["attachments"], "stickers": []})

    def _update_card(self, call: Call) -> Answer:
        card = self._card(call)
        self._check_writable(card["idBoard"], "card ")
        changed = self._change(card, self._read_card(_arguments(call), card["idBoard"], card), BOT)
        if changed:
            self._write("update_card", card["id"], card, changed=changed)
        return Answer(200, self._shown(card))

    def _read_card(self, asked: Mapping[str, Any], board: str, card: Record | None = None) -> Record:
        """The fields sent, checked and as they are kept. Ends the call where one is not what the vendor takes."""
        read: Record = {}
        for name in ("name", "desc"):
            if name in asked:
                value = asked[name]
                is_blank = name == "name" and card is not None and value == ""
                if not isinstance(value, str) or len(value) > TEXT_MOST or is_blank:
                    fail(f"invalid value for {name}")
                read[name] = value
        for name in ("closed", "dueComplete"):
            if name in asked:
                read[name] = _read_bool(asked[name], name)
        if "due" in asked:
            read["due"] = _read_date(asked["due"], "due")
        if "idList" in asked:
            read["idList"] = self._read_list(asked["idList"], board, card)
        if "idBoard" in asked and asked["idBoard"] != board:
            fail("invalid value for idBoard")
        if "idLabels" in asked:
            read["idLabels"] = self._read_labels(asked["idLabels"], board)
        moves = card is None or read.get("idList", card["idList"]) != card["idList"]
        if "pos" in asked or moves:
            place = {**(card or {}), **read}
            others = [
                each["pos"]
                for id, each in self.cards.items()
                if each["idList"] == place["idList"] and id != place.get("id")
            ]
            read["pos"] = _read_pos(asked.get("pos", "bottom"), others)
        return read

    def _read_list(self, id: Any, board: str, card: Record | None) -> str:
        if not (isinstance(id, str) and _ID.fullmatch(id)) or self.lists.get(id, {}).get("idBoard") != board:
            fail("invalid value for idList")
        is_new = card is None or card["idList"] != id
        if is_new and self.lists[id]["closed"] and not self.habits.takes_closed_list:
            fail("invalid value for idList")
        return id

    def _read_labels(self, value: Any, board: str) -> list[str]:
        ids = value.split(",") if isinstance(value, str) else value
        if ids == [""]:
            return []
        if not isinstance(ids, list) or not all(
            isinstance(each, str) and _ID.fullmatch(each) for each in ids
        ):
            fail({"message": "Invalid objectId", "error": "ERROR"})
        if any(self.labels.get(each, {}).get("idBoard") != board for each in ids):
            fail("invalid value for idLabels")
        return list(dict.fromkeys(ids))

    def _new_card(self, read: Record, id: str | None = None) -> Record:
        board = self.lists[read["idList"]]["idBoard"]
        self._numbers[board] = number = self._numbers.get(board, 0) + 1
        card: Record = {
            "id": id or self._fresh(),
            "name": "",
            "desc": "",
            "closed": False,
            "due": None,
            "dueComplete": False,
            "idBoard": board,
            "idShort": number,
            "shortLink": self.mint(length=8),
            "idLabels": [],
            "idMembers": [],
            "attachments": [],
            **read,
        }
        self.cards[card["id"]] = card
        self.items[card["id"]] = {}
        return card

    def _change(self, card: Record, read: Record, member: str) -> Record:
        """Makes the changes that are some, with an action for each; what is so already is no change and tells nobody."""
        changed = {name: value for name, value in read.items() if card[name] != value}
        if "idList" in changed:
            # Where it lands in the other list is part of the move.
            card["pos"] = changed.pop("pos", card["pos"])
        for name, value in changed.items():
            old, card[name] = card[name], value
            if name == "idLabels":
                self._tell_labels(card, old, member)
            else:
                self._happen("updateCard", card, member, **self._difference(card, name, old))
        return changed

    def _tell_labels(self, card: Record, old: list[str], member: str) -> None:
        for kind, ids in (
            ("addLabelToCard", [each for each in card["idLabels"] if each not in old]),
            ("removeLabelFromCard", [each for each in old if each not in card["idLabels"]]),
        ):
            for id in ids:
                self._happen(kind, card, member, label=_parts(self.labels[id], "id", "name", "color"))

    def _difference(self, card: Record, name: str, old: Any) -> Record:
        """What an updateCard action says beside the card: the old value, and both lists where it moved."""
        told: Record = {"old": {name: old}}
        if name == "idList":
            before, after = self.lists[old], self.lists[card["idList"]]
            return {
                **told,
                "listBefore": _parts(before, "id", "name"),
                "listAfter": _parts(after, "id", "name"),
            }
        return {**told, "list": _parts(self.lists[card["idList"]], "id", "name")}

    def _add_label(self, call: Call) -> Answer:
        card = self._card(call)
        self._check_writable(card["idBoard"], "card ")
        id = _arguments(call).get("value")
        if not isinstance(id, str) or self.labels.get(id, {}).get("idBoard") != card["idBoard"]:
            fail("invalid value for value")
        if id in card["idLabels"]:
            if self.habits.refuses_label_twice:
                fail("that label is already on the card")
            return Answer(200, card["idLabels"])
        self._change(card, {"idLabels": [*card["idLabels"], id]}, BOT)
        self._write("add_label", id, card)
        return Answer(200, card["idLabels"])

    def _set_field(self, call: Call) -> Answer:
        """A value of the field's own type, or `""`, which takes it away."""
        card = self._card(call)
        self._check_writable(card["idBoard"], "card ")
        field = self.fields.get(call.ids["field"])
        if field is None or field["idModel"] != card["idBoard"] or not self.habits.has_custom_fields:
            _absent(call.ids["field"])
        body = call.json if call.content_type == "application/json" else None
        value = _read_item(body, field["type"])
        items, id = self.items[card["id"]], field["id"]
        old = items.get(id, {}).get("value")
        item = {
            "id": items.get(id, {}).get("id") or self._fresh(),
            "value": value,
            "idCustomField": id,
            "idModel": card["id"],
            "modelType": "card",
        }
        if value != old:
            if value is None:
                del items[id]
            else:
                items[id] = item
            self._happen(
                "updateCustomFieldItem",
                card,
                BOT,
                old={"value": old},
                customField=_parts(field, "id", "name", "type"),
                customFieldItem=item,
            )
            self._write("update_custom_field", item["id"], card, field=field["name"], value=value)
        return Answer(200, item)

    # ------------------------------------------------------------ comments

    def _comment_card(self, call: Call) -> Answer:
        card = self._card(call)
        self._check_writable(card["idBoard"], "card ")
        text = _read_comment(_arguments(call).get("text"))
        action = self._happen("commentCard", card, BOT, text=text)
        self._write("comment_card", action["id"], card, words=text, text=text)
        return Answer(200, action)

    def _update_comment(self, call: Call) -> Answer:
        """Only comments have a text to change, and only their writer may."""
        action = next((each for each in self.actions if each["id"] == call.ids["id"]), None)
        if action is None or action["data"]["card"]["id"] not in self.cards:
            _absent(call.ids["id"])
        card = self.cards[action["data"]["card"]["id"]]
        self._check_writable(card["idBoard"])
        if action["type"] != "commentCard" or action["idMemberCreator"] != BOT:
            fail("unauthorized permission requested", 401)
        text = _read_comment(_arguments(call).get("text"))
        old = action["data"]["text"]
        if text != old:
            action["data"] |= {"text": text, "dateLastEdited": _stamp(self.world.clock())}
            told = {"id": action["id"], "text": text}
            self._happen("updateComment", card, BOT, action=told, old={"text": old})
            self._write("update_comment", action["id"], card, words=text, text=text)
        return Answer(200, action)

    # ------------------------------------------------------------ reading

    def _get_me(self, call: Call) -> Answer:
        me = self.people[BOT]
        shown = {
            **me,
            "initials": "".join(word[0] for word in me["fullName"].split()),
            "url": f"https://trello.com/{me['username']}",
            "memberType": "normal",
            "confirmed": True,
            "idBoards": [each for each in self.boards if each not in self.outside],
        }
        return Answer(200, _picked(shown, dict(call.query_pairs).get("fields")))

    def _get_board(self, call: Call) -> Answer:
        board, fields = self._board(call), dict(call.query_pairs).get("fields")
        opened = sum(each["idBoard"] == board["id"] and not each["closed"] for each in self.cards.values())
        most = self.habits.open_cards_most
        limit = {
            "status": "warning" if opened >= most * 0.9 else "ok",
            "disableAt": most,
            "warnAt": int(most * 0.9),
        }
        if fields is None:
            return Answer(200, board)
        return Answer(200, _picked({**board, "limits": {"cards": {"openPerBoard": limit}}}, fields))

    def _list_lists(self, call: Call) -> Answer:
        board, asked = self._board(call), dict(call.query_pairs)
        wanted = _one_of(asked, "filter", ("all", "closed", "none", "open"), "open")
        found = [
            each
            for each in self.lists.values()
            if each["idBoard"] == board["id"] and _is_wanted(each["closed"], wanted)
        ]
        return Answer(200, [_picked(each, asked.get("fields")) for each in found])

    def _list_labels(self, call: Call) -> Answer:
        board, asked = self._board(call), dict(call.query_pairs)
        found = [each for each in self.labels.values() if each["idBoard"] == board["id"]]
        limit = _number(asked, "limit", 50, 0, LIMIT_MOST)
        return Answer(200, [_picked(each, asked.get("fields")) for each in found[:limit]])

    def _list_fields(self, call: Call) -> Answer:
        board, has_some = self._board(call), self.habits.has_custom_fields
        found = [each for each in self.fields.values() if each["idModel"] == board["id"]]
        return Answer(200, found if has_some else [])

    def _list_board_cards(self, call: Call) -> Answer:
        board, asked = self._board(call), dict(call.query_pairs)
        asked |= {"filter": call.ids["filter"]} if "filter" in call.ids else {}
        found = [each for each in self.cards.values() if each["idBoard"] == board["id"]]
        return Answer(200, self._page(found, asked, "visible"))

    def _list_list_cards(self, call: Call) -> Answer:
        if (each := self.lists.get(call.ids["id"])) is None:
            _absent(call.ids["id"])
        self._check_member(each["idBoard"])
        found = [card for card in self.cards.values() if card["idList"] == each["id"]]
        return Answer(200, self._page(found, dict(call.query_pairs), "open"))

    def _page(self, found: list[Record], asked: Mapping[str, str], default: str) -> list[Record]:
        """Cards in the order of the board; of too many, the newest."""
        wanted = _one_of(asked, "filter", _FILTERS, default)
        most = self.habits.cards_most
        limit = min(_number(asked, "limit", LIMIT_MOST, 0, LIMIT_MOST), most)
        kept = [each for each in found if self._is_shown(each, wanted) and _is_between(each["id"], asked)]
        newest = sorted(kept, key=lambda each: str(each["id"]), reverse=True)[:limit]
        newest.sort(key=lambda each: (self.lists[each["idList"]]["pos"], each["pos"]))
        return [self._picked_card(each, asked) for each in newest]

    def _is_shown(self, card: Record, wanted: str) -> bool:
        """An archived list hides its cards from `visible` and leaves them open."""
        match wanted:
            case "visible":
                return not card["closed"] and not self.lists[card["idList"]]["closed"]
            case "complete" | "incomplete":
                return not card["closed"] and card["dueComplete"] == (wanted == "complete")
            case _:
                return _is_wanted(card["closed"], wanted)

    def _get_card(self, call: Call) -> Answer:
        return Answer(200, self._picked_card(self._card(call), dict(call.query_pairs)))

    def _list_items(self, call: Call) -> Answer:
        return Answer(200, list(self.items[self._card(call)["id"]].values()))

    def _list_card_actions(self, call: Call) -> Answer:
        card = self._card(call)
        found = [each for each in self.actions if each["data"]["card"]["id"] == card["id"]]
        return Answer(200, _page_of_actions(found, call, "commentCard,updateCard:idList"))

    def _list_board_actions(self, call: Call) -> Answer:
        board = self._board(call)
        found = [each for each in self.actions if each["data"]["board"]["id"] == board["id"]]
        return Answer(200, _page_of_actions(found, call, "all"))

    def _search(self, call: Call) -> Answer:
        """Cards that have every word of the query, as the index knew them a while ago; archived ones too."""
        asked = dict(call.query_pairs)
        query = asked.get("query", "")
        if not 1 <= len(query) <= TEXT_MOST:
            fail("invalid value for query")
        models = asked.get("modelTypes", "all").split(",")
        if any(each not in _MODELS for each in models):
            fail("invalid value for modelTypes")
        boards = set(self.boards) - self.outside
        if asked.get("idBoards", "mine") != "mine":
            boards &= {self._find_board(each)["id"] for each in asked["idBoards"].split(",")}
        is_partial = asked.get("partial") == "true"
        limit, page = _number(asked, "cards_limit", 10, 1, 1_000), _number(asked, "cards_page", 0, 0, 100)
        terms = re.findall(r"\w+", query.lower())
        found = [
            each
            for each in reversed(self.cards.values())
            if each["idBoard"] in boards and self._has_words(each["id"], terms, is_partial=is_partial)
        ]
        modes = {"terms": [{"text": each} for each in terms], "modifiers": [], "partial": is_partial}
        told: Record = {"options": {**modes, "modelTypes": models}}
        if {"all", "cards"} & set(models):
            fields = {"fields": asked.get("card_fields", "all")}
            told["cards"] = [
                self._picked_card(each, fields) for each in found[page * limit : (page + 1) * limit]
            ]
        return Answer(200, told)

    def _has_words(self, id: str, terms: list[str], *, is_partial: bool) -> bool:
        seen = max(self.world.clock() - timedelta(seconds=self.habits.search_lag_s), self._caught_up)
        known = [text for at, text in self._words[id] if at <= seen]
        if not known or not terms:
            return False
        words = set(re.findall(r"\w+", known[-1].lower()))
        return all(
            any(word.startswith(term) for word in words) if is_partial else term in words for term in terms
        )

    # ------------------------------------------------------------ finding

    def _board(self, call: Call) -> Record:
        return self._find_board(call.ids["id"])

    def _find_board(self, key: str) -> Record:
        board = _find(self.boards, key)
        self._check_member(board["id"])
        return board

    def _card(self, call: Call) -> Record:
        """By id or short link; an archived card is as good as any, a deleted one is not there."""
        card = _find(self.cards, call.ids["id"])
        self._check_member(card["idBoard"], "card ")
        return card

    def _check_member(self, board: str, what: str = "") -> None:
        if board in self.outside:
            fail(f"unauthorized {what}permission requested", 401)

    def _check_writable(self, board: str, what: str = "") -> None:
        self._check_member(board, what)
        if self.boards[board]["closed"] and not self.habits.takes_closed_board:
            fail(f"unauthorized {what}permission requested", 401)

    def _shown(self, card: Record) -> Record:
        short = f"https://trello.com/c/{card['shortLink']}"
        return {
            **{name: value for name, value in card.items() if name != "attachments"},
            "badges": {
                "attachments": len(card["attachments"]),
                "comments": len(self._comments.get(card["id"], ())),
                "description": bool(card["desc"]),
                "due": card["due"],
                "dueComplete": card["dueComplete"],
            },
            "descData": {"emoji": {}},
            "idChecklists": [],
            "labels": [self.labels[each] for each in card["idLabels"]],
            "shortUrl": short,
            "url": f"{short}/{card['idShort']}-{_slug(card['name'])}",
        }

    def _picked_card(self, card: Record, asked: Mapping[str, str]) -> Record:
        shown = _picked(self._shown(card), asked.get("fields"), _OTHER_FIELDS)
        if asked.get("customFieldItems") == "true":
            shown["customFieldItems"] = list(self.items[card["id"]].values())
        return shown

    def _fresh(self) -> str:
        return f"{int(self.world.clock().timestamp()):08x}{self._salt}{next(self._counter):06x}"

    def _write(self, effect: str, id: str, card: Record, *, words: str | None = None, **more: Any) -> None:
        """A line about a card. `words`: the comment where the reference stands; else the card's own text."""
        marker = _MARKER.match(card["name"])
        own = _reference(card["desc"]) or (marker[1] if marker else None)
        self.book.write(
            effect,
            id=id,
            target={"board": card["idBoard"], "list": card["idList"], "card": card["id"]},
            reference=(_reference(words) if words is not None else None) or own,
            **more,
        )

    # ------------------------------------------------------------ actions and webhooks

    def _happen(self, kind: str, card: Record, member: str, *, is_told: bool = True, **data: Any) -> Record:
        """Notes an action, and tells whoever watches. Edits of comments are told and not listed."""
        now = self.world.clock()
        who, board = self.people[member], self.boards[card["idBoard"]]
        changed = next(iter(data.get("old", ())), "") if kind == "updateCard" else ""
        about = _parts(card, "id", "name", "idShort", "shortLink")
        if changed:
            about[changed] = card[changed]
        elif kind in ("createCard", "commentCard"):
            data["list"] = _parts(self.lists[card["idList"]], "id", "name")
        action: Record = {
            "id": self._fresh(),
            "idMemberCreator": member,
            "data": {**data, "card": about, "board": _parts(board, "id", "name", "shortLink")},
            "type": kind,
            "date": _stamp(now),
            "display": {"translationKey": _display(kind, changed, card, data)},
            "memberCreator": {**who, "activityBlocked": False},
        }
        card["dateLastActivity"] = _stamp(now)
        if kind != "updateComment":
            self.actions.append(action)
        comments = self._comments.setdefault(card["id"], [])
        if kind == "commentCard":
            comments.append(action)
        texts = [each["data"]["text"] for each in comments]
        self._words.setdefault(card["id"], []).append((now, "\n".join((card["name"], card["desc"], *texts))))
        # A copy: what was told does not change with the board.
        event = Event(action["id"], kind, copy.deepcopy({"action": action, "model": board}))
        self._events[event.id] = event
        if is_told:
            self._tell(event, card)
        return action

    def _tell(self, event: Event, card: Record) -> None:
        models: dict[str, Record] = {
            card["idBoard"]: event.body["model"],
            card["id"]: copy.deepcopy(self._shown(card)),
            card["idList"]: dict(self.lists[card["idList"]]),
        }
        for hook in self.hooks.values():
            if hook.active and hook.model in models:
                body = {**event.body, "model": models[hook.model], "webhook": hook.shown()}
                told = replace(event, body=body)
                self.world.later(0.0, functools.partial(self._deliver, hook.id, told, 0))
        self.emit(event)

    def _deliver(self, id: str, event: Event, tries: int) -> None:
        hook = self.hooks.get(id)
        if hook is None or not hook.active:
            return
        status = self.world.webhooks.send_now(self.name, event, hook.url, SECRET)
        with self.lock:
            if 200 <= status < 300:
                hook.failures, hook.failing_since = 0, None
                return
            if status == 410 and self.habits.drops_hook_on_410:
                self.hooks.pop(id, None)
                return
            now = self.world.clock()
            hook.failures += 1
            hook.failing_since = hook.failing_since or now
            is_old = now - hook.failing_since >= timedelta(days=self.habits.hook_days_most)
            if is_old or hook.failures >= self.habits.hook_failures_most:
                hook.active = False
            elif tries < len(self.habits.retry_waits_s):
                wait_s = self.habits.retry_waits_s[tries]
                self.world.later(wait_s, functools.partial(self._deliver, id, event, tries + 1))

    def _create_hook(self, call: Call) -> Answer:
        asked = _arguments(call)
        hook = Hook(self._fresh(), "", "")
        self._fill_hook(hook, {"callbackURL": None, "idModel": None, **asked})
        self.hooks[hook.id] = hook
        self._write_hook("create_webhook", hook)
        return Answer(200, hook.shown())

    def _update_hook(self, call: Call) -> Answer:
        hook, asked = self._hook(call), _arguments(call)
        changed = replace(hook)
        self._fill_hook(changed, asked)
        if changed != hook:
            self.hooks[hook.id] = changed
            self._write_hook("update_webhook", changed)
        return Answer(200, changed.shown())

    def _fill_hook(self, hook: Hook, asked: Mapping[str, Any]) -> None:
        """Puts what was sent into a webhook. Ends the call where it is nothing the vendor takes, or the callback is silent."""
        if "description" in asked:
            hook.description = asked["description"]
            if not isinstance(hook.description, str) or len(hook.description) > TEXT_MOST:
                fail("invalid value for description")
        if "active" in asked:
            was_active, hook.active = hook.active, _read_bool(asked["active"], "active")
            if hook.active and not was_active:
                hook.failures, hook.failing_since = 0, None
        if "idModel" in asked:
            hook.model = self._read_model(asked["idModel"])
        if "callbackURL" in asked:
            hook.url = asked["callbackURL"]
            if not isinstance(hook.url, str) or not re.fullmatch(r"https?://[^\s/]+\S*", hook.url):
                fail("invalid value for callbackURL")
            if (status := self.probe(hook.url)) != 200:
                said = f"URL ({hook.url}) did not return 200 status code, got {status}"
                fail({"message": said, "error": "VALIDATOR_URL_RETURNED_ERROR"})
        if any(
            each.is_ours and each.id != hook.id and (each.model, each.url) == (hook.model, hook.url)
            for each in self.hooks.values()
        ):
            fail("A webhook with that callback, model, and token already exists")

    def _read_model(self, id: Any) -> str:
        known = (self.lists, self.cards)
        board = None
        if isinstance(id, str):
            board = id if id in self.boards else next((x[id]["idBoard"] for x in known if id in x), None)
        if board is None:
            fail("invalid value for idModel")
        self._check_member(board)
        return str(id)

    def _get_hook(self, call: Call) -> Answer:
        return Answer(200, self._hook(call).shown())

    def _delete_hook(self, call: Call) -> Answer:
        hook = self._hook(call)
        del self.hooks[hook.id]
        self._write_hook("delete_webhook", hook)
        return Answer(200, {"_value": None})

    def _list_hooks(self, call: Call) -> Answer:
        if not hmac.compare_digest(call.ids["token"].encode(), TOKEN.encode()):
            return self.unauthorised(call)
        return Answer(200, [each.shown() for each in self.hooks.values() if each.is_ours])

    def _hook(self, call: Call) -> Hook:
        hook = self.hooks.get(call.ids["id"])
        if hook is None:
            _absent(call.ids["id"])
        if not hook.is_ours:
            fail("webhook does not belong to token", 401)
        return hook

    def _write_hook(self, effect: str, hook: Hook) -> None:
        target = {"model": hook.model, "url": hook.url}
        self.book.write(
            effect, id=hook.id, target=target, reference=hook.description or None, active=hook.active
        )

    def event_for(self, topic: str, object_id: str) -> Event:
        """An action's type, and the action's id or the card's: then the last of that type."""
        for id, event in reversed(self._events.items()):
            if event.topic == topic and object_id in (id, event.body["action"]["data"]["card"]["id"]):
                return event
        raise NoSuchObjectError(f"trello sends no {topic!r} about {object_id!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:
        """`X-Trello-Webhook`: no time and no nonce in it, so that every retry is the same."""
        body = event.payload
        headers = {
            "Content-Type": "application/json",
            "X-Trello-Webhook": signature_of(secret, body, url),
            "User-Agent": "Trello (practice)",
        }
        return Delivery(headers, body)


# ---------------------------------------------------------------- requests read


def _credentials(call: Call) -> tuple[str, str]:
    """Key and token, empty where absent. The header counts before the query."""
    scheme, _, rest = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "oauth":
        parts = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        return parts.get("oauth_consumer_key", ""), parts.get("oauth_token", "")
    asked = dict(call.query_pairs)
    return asked.get("key", ""), asked.get("token", "")


def _arguments(call: Call) -> Record:
    """Query and body together, JSON or a form; the body counts where both have a name."""
    asked: Record = dict(call.query_pairs)
    if call.body and call.content_type == "application/json":
        if not isinstance(call.json, dict):
            fail("Error parsing body: invalid json")
        asked |= call.json
    elif call.content_type == _FORM:
        asked |= dict(call.form_pairs)
    return {name: value for name, value in asked.items() if name not in ("key", "token")}


def _read_bool(value: Any, name: str) -> bool:
    if value is True or value == "true":
        return True
    return False if value is False or value == "false" else fail(f"invalid value for {name}")


def _read_date(value: Any, name: str) -> str | None:
    """A date as it is kept: UTC with milliseconds; None where null or nothing was sent."""
    if value in (None, "", "null"):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        fail(f"invalid value for {name}")
    return _stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _read_pos(value: Any, others: Sequence[float]) -> float:
    """A place among the list's other cards: asked for twice, it is the same."""
    if value == "bottom":
        return max(others, default=0.0) + _GAP
    if value == "top":
        return min(others, default=2 * _GAP) / 2
    try:
        pos = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        pos = -1.0
    return pos if 0 < pos < float("inf") else fail("invalid value for pos")


def _read_comment(text: Any) -> str:
    return text if isinstance(text, str) and 1 <= len(text) <= TEXT_MOST else fail("invalid value for text")


def _read_item(body: Any, kind: str) -> Record | None:
    """A custom field's value, None to take it away. Numbers and booleans travel as texts."""
    match body, kind:
        case {"value": "" | {"text": ""} | {"number": ""} | {"date": ""} | {"checked": "" | "false"}}, _:
            return None
        case {"value": dict(value)}, _ if not value:
            return None
        case {"value": {"text": str(text)}}, "text" if len(text) <= TEXT_MOST:
            return {"text": text}
        case {"value": {"number": str(number)}}, "number" if re.fullmatch(r"-?\d+(\.\d+)?", number):
            return {"number": number}
        case {"value": {"checked": "true"}}, "checkbox":
            return {"checked": "true"}
        case {"value": {"date": str(date)}}, "date":
            return {"date": _read_date(date, "date")}
        case _:
            fail("Invalid custom field item value.")


def _one_of(asked: Mapping[str, str], name: str, choices: Sequence[str], default: str) -> str:
    value = asked.get(name, default)
    return value if value in choices else fail(f"invalid value for {name}")


def _number(asked: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = asked.get(name, str(default))
    return int(text) if text.isdecimal() and least <= int(text) <= most else fail(f"invalid value for {name}")


def _is_wanted(closed: bool, wanted: str) -> bool:
    return wanted == "all" or (wanted == "closed" and closed) or (wanted == "open" and not closed)


def _is_between(id: str, asked: Mapping[str, str]) -> bool:
    """`since` and `before`, each an id or a date, leave out what they name. A date is the id that its second begins with."""
    since, before = _bound(asked, "since"), _bound(asked, "before")
    return (since is None or id > since) and (before is None or id < before)


def _bound(asked: Mapping[str, str], name: str) -> str | None:
    text = asked.get(name, "")
    if not text or _ID.fullmatch(text):
        return text.lower() or None
    stamp = _read_date(text, name)
    return f"{int(datetime.fromisoformat(stamp).timestamp()):08x}{'0' * 16}" if stamp else None


def _page_of_actions(found: Iterable[Record], call: Call, default: str) -> list[Record]:
    """Newest first. A filter names types, `updateCard:idList` only those that changed that."""
    asked = dict(call.query_pairs)
    limit, page = (
        _number(asked, "limit", ACTIONS_PAGE, 0, LIMIT_MOST),
        _number(asked, "page", 0, 0, PAGE_MOST),
    )
    wanted = asked.get("filter", default).replace(" ", "").split(",")
    kept = [each for each in found if _is_kind(each, wanted) and _is_between(each["id"], asked)]
    return kept[::-1][page * limit : (page + 1) * limit]


def _is_kind(action: Record, wanted: Sequence[str]) -> bool:
    kinds = {"all", action["type"], *(f"{action['type']}:{name}" for name in action["data"].get("old", ()))}
    return not kinds.isdisjoint(wanted)


# ---------------------------------------------------------------- answers written


def _refusal(said: str | Record, status: int) -> Answer:
    kind = "text/plain; charset=utf-8" if isinstance(said, str) else "application/json; charset=utf-8"
    return Answer(status, said, content_type=kind)


def _find(things: Mapping[str, Record], key: str) -> Record:
    """By id or short link. Ends the call where there is none."""
    if (thing := things.get(key)) is not None:
        return thing
    for each in things.values():
        if each["shortLink"] == key:
            return each
    _absent(key, is_id=_SHORT_LINK.fullmatch(key) is not None)


def _absent(key: str, *, is_id: bool = False) -> NoReturn:
    """Ends the call: nothing has that id, or it is none."""
    if is_id or _ID.fullmatch(key):
        fail(NOT_FOUND, 404)
    fail("invalid id")


def _picked(shown: Record, fields: str | None, others: frozenset[str] = frozenset()) -> Record:
    """The fields asked for, and always the id."""
    if fields in (None, "", "all"):
        return dict(shown)
    names = str(fields).split(",")
    if any(each not in shown and each not in others for each in names):
        fail("invalid value for fields")
    return {"id": shown["id"], **{each: shown[each] for each in names if each in shown}}


def _parts(thing: Record, *names: str) -> Record:
    return {name: thing[name] for name in names}


def _display(kind: str, changed: str, card: Record, data: Record) -> str:
    match changed:
        case "closed":
            return "action_archived_card" if card["closed"] else "action_sent_card_to_board"
        case "dueComplete":
            state = "complete" if card["dueComplete"] else "incomplete"
            return f"action_marked_the_due_date_{state}"
        case "due" if card["due"] is None:
            return "action_removed_a_due_date"
        case "due" if data["old"]["due"] is None:
            return "action_added_a_due_date"
        case _:
            return _DISPLAYS[changed or kind]


def _reference(text: str) -> str | None:
    found: list[str] = _REFERENCE.findall(text)
    return found[-1] if found else None


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
