"""Trello: one card a case on the operators' board, and a person's word where a card is dragged to "approved" or "rejected".

REST API 1, the only version there is (https://developer.atlassian.com/cloud/trello, and the vendor's OpenAPI file as copied in
stritzinger/trellang 946ad5e, 2026-04-14; read 2026-11-25). Advisory only: a card that cannot be kept holds nothing up.

Quirks
- Nothing keeps two equal cards from being made. A card carries its case twice: `[case id]` begins its name, and the last line of its
  description is `ref: <case id> v<version>`. The board's cards are read for that before one is made, archived ones too. Search is
  not used: its index shows a card late.
- An id begins with the second of its birth. A list of cards is given from the newest on, `before` an id, at most 1,000 at once
  (public clients; the published description leaves `limit`, `before` and `fields` out), so a look ends where cards are older
  than the case.
- A PUT of name, description and list says all that we have to say: a second one changes nothing. What people write into the
  description is lost with the next one; comments, labels and members of a card are theirs and stay.
- An archived list takes cards that then nobody sees; a list of another board would hide them from our own look. So the lists are
  read before a card is made or moved.
- Errors are words in plain text, some in JSON. A 429 says nothing about when to come again.
- Key and token also go in the query; here they stand in a header, so that no access log holds them.
- A webhook's signature covers the body and then the callback's address as registered. It has no time in it, and the body has no
  description: a dragged card is known by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final
from urllib.parse import quote

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import KeepRecord
from refundflow.domain.ids import opened_at
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
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, sign_base64, split_secrets

_DOC: Final = "https://developer.atlassian.com/cloud/trello/rest"

SPEC: Final = Spec(
    platform="trello",
    api_version="1",
    base_url="https://api.trello.com/1",
    operations={
        Capability.KEEP_RECORD: Operation(
            # An update alone would be natural; what counts is the creation.
            "POST /cards, PUT /cards/{id}",
            Idempotency.LOOKUP,
            f"{_DOC}/api-group-cards/#api-cards-post",
        ),
        Capability.CHECK: Operation(
            "GET /boards/{id}/lists", Idempotency.READ, f"{_DOC}/api-group-boards/#api-boards-id-lists-get"
        ),
        Capability.INBOUND: Operation(
            "webhook of the board",
            Idempotency.READ,
            "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        ),
    },
    # A token may ask 100 times in 10 s, and people's own tools may use the same one.
    rate_per_s=5.0,
    burst=10,
    # An address has the words of the card's name in it; `shortUrl` has not.
    redact=frozenset({"desc", "name", "url"}),
)

#: What `KeepRecord.state` can be.
STATES: Final = ("running", "held", "attention", "complete", "declined", "nothing_to_do")
_ENDED: Final = frozenset({"complete", "declined", "nothing_to_do"})

#: A call whose answer was lost can still be running when our time limit ends; a minute later it has acted or never will.
_SETTLED_S: Final = 60.0
#: Our clock and the vendor's differ; a look goes back this far beyond the opening of the case.
_CLOCK_MARGIN_S: Final = 600
#: What to wait after a 429, at the least: limits are counted in windows of 10 s.
_WINDOW_S: Final = 10.0

#: So many of the longest descriptions stay below what one answer may be long.
_PAGE: Final = 200
_MAX_PAGES: Final = 25

#: A description has at most 16,384 characters, counted as JavaScript does: escaping, or an emoji, makes one of these two.
_TEXT_CHARS: Final = 6_000
_VALUE_CHARS: Final = 200
_FIELDS_CHARS: Final = 2_000
_TITLE_CHARS: Final = 200

_FIELDS: Final = ("fields", "name,desc,idList,idBoard,closed,shortUrl")
_ID: Final = re.compile(r"[0-9a-f]{24}")
_MARK: Final = re.compile(r"\[(RF-[0-9A-Za-z]+)\]")
_REF: Final = re.compile(r"^ref: (\S+) v(\d{1,9})[ \t]*$", re.MULTILINE)

_NO_SECRET: Final = Secret("")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key and token (scope `read,write`) of a bot that is a member of the one board. All ids are 24 hexadecimal digits.

    `list_id`: where cards go whose state has no list of its own; `lists`: those that have, as "held=…,complete=…". For decisions:
    `approved_list_id`, `rejected_list_id`, and who may decide (`members`: ids, separated by commas; `bot_member_id`: the bot's own,
    never one of them). `oauth_secret`: the key's OAuth 1.0 secret, which signs webhooks; `callback_url`: their address as
    registered, to the letter. Raises ValueError for what cannot be right.
    """

    api_key: str
    token: Secret
    board_id: str
    list_id: str
    lists: str = ""
    oauth_secret: Secret = _NO_SECRET
    callback_url: str = ""
    approved_list_id: str = ""
    rejected_list_id: str = ""
    members: str = ""
    bot_member_id: str = ""
    base_url: str = SPEC.base_url

    def __post_init__(self) -> None:
        places, deciders = self.places, self.deciders
        decision = {each for each in (self.approved_list_id, self.rejected_list_id) if each}
        bot = {self.bot_member_id} - {""}
        for each in (self.board_id, self.list_id, *places.values(), *deciders, *decision, *bot):
            if not _ID.fullmatch(each):
                raise ValueError(f"{each!r} is no id: Trello's have 24 hexadecimal digits in lower case")
        if self.approved_list_id and self.approved_list_id == self.rejected_list_id:
            raise ValueError("one list cannot mean both approved and rejected")
        if decision and not deciders:
            raise ValueError(
                "there are lists for decisions, and members does not say whose decisions they are"
            )
        if places.get("held", self.list_id) in decision:
            raise ValueError("cards of held cases would lie in a list that means a decision")
        if decision and self.oauth_secret and not self.callback_url:
            raise ValueError("callback_url is part of what is signed, and is not set")

    @property
    def places(self) -> dict[str, str]:
        """The list of each state that has one of its own. Raises ValueError for what is no state."""
        places = {}
        for pair in _listed(self.lists):
            state, _, list_id = (part.strip() for part in pair.partition("="))
            if state not in STATES:
                raise ValueError(f"lists names {state!r}, which is no state; there are {', '.join(STATES)}")
            places[state] = list_id
        return places

    @property
    def deciders(self) -> frozenset[str]:
        """The members whose moves are decisions."""
        return frozenset(_listed(self.members)) - {self.bot_member_id}


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (raw.strip() for raw in text.split(",")) if part)


def build(credentials: Credentials, wire: Wire) -> Trello:
    """The connector on a wire."""
    key, token = credentials.api_key, credentials.token.reveal()
    http = wire.http(
        platform=SPEC.platform,
        base_url=credentials.base_url.rstrip("/"),
        rate_per_s=SPEC.rate_per_s,
        burst=SPEC.burst,
        connect_s=SPEC.connect_s,
        read_s=SPEC.read_s,
        headers={
            "Authorization": f'OAuth oauth_consumer_key="{key}", oauth_token="{token}"',
            # The wire strikes out the value of a secret header wherever it turns up; in the header above the token is only a
            # part of the value. Trello takes no notice of this one.
            "X-Api-Token": token,
        },
        redact=SPEC.redact,
    )
    return Trello(http, credentials.board_id, credentials.list_id, credentials.places)


def build_inbound(credentials: Credentials) -> TrelloInbound:
    """The webhook's side."""
    return TrelloInbound(
        credentials.oauth_secret,
        credentials.callback_url,
        credentials.board_id,
        credentials.approved_list_id,
        credentials.rejected_list_id,
        credentials.deciders,
        credentials.bot_member_id,
    )


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it is. `case_id`: the case that it carries, empty where it is none of ours; `version`: as its description says, 0
    where it says none; `list_id`: where it lies.
    """

    id: str
    case_id: str
    version: int
    board_id: str
    list_id: str
    is_closed: bool
    url: str


@dataclass(frozen=True, slots=True)
class Trello:
    """One board. `list_id`: the list of every state that `places` does not name."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    board_id: str
    list_id: str
    places: Mapping[str, str]

    def check(self) -> Health:
        """Whether the board is ours to see and has every list that cards go to. That the token may write shows with the first card."""
        return read_health(
            self.http.send(lists_request(self.board_id, "trello.check")),
            {self.list_id, *self.places.values()},
        )

    def keep_record(self, command: KeepRecord) -> Outcome:
        """Brings the case's card to this state; makes it only where the board has none, whatever the answer to an earlier try was.

        Where two are found, the older stays. The newer is archived if the same member made both, which is us; a copy that somebody
        made is theirs, and a Permanent("ambiguous").
        """
        if command.record_id:
            card = self._read(command.record_id)
            return self._bring(card, command) if isinstance(card, Card) else unsent(card)
        cards = self._cards_of(command)
        if not isinstance(cards, tuple):
            return unsent(cards)
        if not cards:
            return self._make(command)
        main, *others = [card for card in cards if not card.is_closed] or cards[:1]
        for twin in others:
            archived = self._archive(main, twin)
            if not isinstance(archived, Done):
                return archived
        return self._bring(main, command)

    def find_keep_record(self, command: KeepRecord) -> Found:
        """The card, and whether it shows this version or a later one."""
        if command.record_id:
            card = self._read(command.record_id)
            if isinstance(card, Card):
                return read_found(card, command, self.board_id)
            return card if card == GONE else not_seen(card)
        cards = self._cards_of(command)
        if not isinstance(cards, tuple):
            return not_seen(cards)
        if cards:
            return read_found(main_of(cards), command, self.board_id)
        refusal = self._refusal(self._place(command), "trello.find_keep_record")
        if refusal is not None:
            # Where the card's list is not on the board that was read, its absence there proves nothing.
            return not_seen(refusal)
        return NotFound(_SETTLED_S, f"no card of the board carries {command.case_id}")

    def _place(self, command: KeepRecord) -> str:
        return self.places.get(command.state, self.list_id)

    def _read(self, card_id: str) -> Card | NoAnswer:
        return read_single(self.http.send(card_request(card_id)))

    def _cards_of(self, command: KeepRecord) -> tuple[Card, ...] | NoAnswer:
        """Every card of the board that carries the case, the oldest first."""
        oldest = max(0, opened_at(command.step_key) - _CLOCK_MARGIN_S)
        found: list[Card] = []
        before = ""
        for _ in range(_MAX_PAGES):
            page = read_page(self.http.send(cards_request(self.board_id, before)))
            if not isinstance(page, tuple):
                return page
            if before and any(card.id >= before for card in page):
                return Unknown("Trello shows the same cards again when asked for older ones")
            found += [card for card in page if card.case_id == command.case_id]
            before = min((card.id for card in page), default="")
            if not before or born_at(before) < oldest:
                return tuple(sorted(found, key=lambda card: card.id))
        return Unknown(f"more than {_PAGE * _MAX_PAGES} cards on the board since the case was opened")

    def _refusal(self, list_id: str, operation: str) -> NoAnswer | None:
        """Why no card may go to this list; None where one may."""
        return read_place(self.http.send(lists_request(self.board_id, operation)), list_id)

    def _make(self, command: KeepRecord) -> Outcome:
        place = self._place(command)
        refusal = self._refusal(place, "trello.keep_record")
        if refusal is not None:
            return unsent(refusal)
        return read_kept(self.http.send(create_request(command, place)), command, LIST_GONE)

    def _bring(self, card: Card, command: KeepRecord) -> Outcome:
        found = read_found(card, command, self.board_id)
        match found:
            case NotFound():
                pass
            case Done(reference=reference, detail=detail):
                return AlreadyDone(reference, detail)
            case _:
                return found
        place = self._place(command)
        if place != card.list_id:
            refusal = self._refusal(place, "trello.keep_record")
            if refusal is not None:
                return unsent(refusal)
        return read_kept(self.http.send(update_request(command, card, place)), command, GONE)

    def _archive(self, main: Card, twin: Card) -> Outcome:
        makers = []
        for card in (main, twin):
            maker = read_maker(self.http.send(maker_request(card)))
            if not isinstance(maker, str):
                return unsent(maker)
            makers.append(maker)
        if not makers[0] or makers[0] != makers[1]:
            return Permanent(
                "ambiguous",
                f"the cards {main.url} and {twin.url} both carry the case, and not the same member made them: archive one",
            )
        return read_archived(self.http.send(archive_request(twin)), twin)


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def card_path(card_id: str) -> str:
    return f"/cards/{quote(card_id, safe='')}"


def card_request(card_id: str) -> Request:
    return Request("GET", card_path(card_id), "trello.read_card", params=(_FIELDS,))


def cards_request(board_id: str, before: str) -> Request:
    """A page of the board's cards, archived ones too. `before`: an id; the page has the newest of those that are older."""
    return Request(
        "GET",
        f"/boards/{board_id}/cards/all",
        "trello.find_keep_record",
        params=(_FIELDS, ("limit", str(_PAGE)), *((("before", before),) if before else ())),
    )


def lists_request(board_id: str, operation: str) -> Request:
    return Request(
        "GET",
        f"/boards/{board_id}/lists",
        operation,
        params=(("filter", "all"), ("fields", "name,closed")),
    )


def create_request(command: KeepRecord, list_id: str) -> Request:
    return Request(
        "POST",
        "/cards",
        "trello.keep_record",
        json={**content(command), "idList": list_id, "pos": "top"},
    )


def update_request(command: KeepRecord, card: Card, list_id: str) -> Request:
    """The whole of what we say, and the top of the list where the card comes to another one."""
    moved = {"pos": "top"} if list_id != card.list_id else {}
    return Request(
        "PUT",
        card_path(card.id),
        "trello.keep_record",
        json={**content(command), "idList": list_id, **moved},
    )


def maker_request(card: Card) -> Request:
    return Request(
        "GET", f"{card_path(card.id)}/actions", "trello.read_maker", params=(("filter", "createCard"),)
    )


def archive_request(card: Card) -> Request:
    return Request("PUT", card_path(card.id), "trello.archive_twin", json={"closed": True})


def content(command: KeepRecord) -> dict[str, Any]:
    """Name, description and whether the case has ended. A name is no Markdown; of the description only the last line is ours."""
    return {
        "name": f"[{command.case_id}] {cut(flat(command.title), _TITLE_CHARS)}".rstrip(),
        "desc": description(command),
        "dueComplete": command.state in _ENDED,
    }


def description(command: KeepRecord) -> str:
    lines: list[str] = []
    room = _FIELDS_CHARS
    for name, value in command.fields:
        line = f"- {escape(flat(name))}: {escape(cut(flat(value), _VALUE_CHARS))}"
        room -= len(line) + 1
        if room < 0:
            lines.append("…")
            break
        lines.append(line)
    ref = f"ref: {command.case_id} v{command.version}"
    parts = (escape(cut(command.text, _TEXT_CHARS)), "\n".join(lines), ref)
    return "\n\n".join(part for part in parts if part)


def cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


def flat(text: str) -> str:
    """One line."""
    return " ".join(text.split())


_SPAN: Final = re.compile(r"([\\`*_\[\]<>&~|@]|:(?=\S)|(?<=^ref):|(?<=www)\.)", re.IGNORECASE)
_BLOCK: Final = re.compile(r"^(\d*)([#+=\-.)])")


def escape(text: str) -> str:
    """Text that Trello's Markdown shows as it is: no emphasis, links, mentions, lists or headings, and no line like our own last one.

    One character becomes two at most. Spaces before a line go, because four of them would begin a block of code.
    """
    lines = (_SPAN.sub(r"\\\1", line.strip()) for line in text.strip().splitlines())
    return "\n".join(_BLOCK.sub(r"\1\\\2", line) for line in lines)


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_card(value: Any) -> Card | None:
    """A card out of an answer, or None where it is none."""
    match value:
        case {
            "id": str(id),
            "name": str(name),
            "desc": str(desc),
            "idList": str(list_id),
            "idBoard": str(board_id),
            "closed": bool(is_closed),
            **rest,
        } if _ID.fullmatch(id):
            case_id, version = mark_of(name, desc)
            url = rest.get("shortUrl")
            return Card(
                id,
                case_id,
                version,
                board_id,
                list_id,
                is_closed,
                url if isinstance(url, str) else "",
            )
        case _:
            return None


def mark_of(name: str, desc: str) -> tuple[str, int]:
    """The case that a card carries, and its version. The description's last such line decides, because only we write it; where
    people took it out, the name does, and the version is not known: 0.
    """
    refs = _REF.findall(desc)
    if refs:
        return refs[-1][0], int(refs[-1][1])
    mark = _MARK.match(name)
    return (mark[1], 0) if mark else ("", 0)


def born_at(card_id: str) -> int:
    """When the card was made, in epoch seconds."""
    return int(card_id[:8], 16)


def main_of(cards: tuple[Card, ...]) -> Card:
    """The oldest card that is not archived; where all are, the oldest."""
    return min(cards, key=lambda card: (card.is_closed, card.id))


def read_single(response: Response) -> Card | NoAnswer:
    if response.status == 200:
        return read_card(response.json) or unreadable(response)
    failure = read_failure(response)
    return GONE if isinstance(failure, Permanent) and failure.code == "not_there" else failure


def read_page(response: Response) -> tuple[Card, ...] | NoAnswer:
    """The cards of a page; one that cannot be read could be ours, so then none is."""
    match response.status, response.json:
        case 200, list(values):
            cards = tuple(card for value in values if (card := read_card(value)) is not None)
            return cards if len(cards) == len(values) else unreadable(response)
        case 200, _:
            return unreadable(response)
        case _:
            return read_failure(response)


def read_lists(response: Response) -> dict[str, tuple[str, bool]] | NoAnswer:
    """The board's lists by id: name, and whether it is archived."""
    match response.status, response.json:
        case 200, [_, *_] as values:
            lists = {}
            for value in values:
                match value:
                    case {"id": str(id), "name": str(name), "closed": bool(is_closed)}:
                        lists[id] = (name, is_closed)
                    case _:
                        return unreadable(response)
            return lists
        case 200, _:
            return unreadable(response)
        case _:
            return read_failure(response)


def read_place(response: Response, list_id: str) -> NoAnswer | None:
    lists = read_lists(response)
    if not isinstance(lists, dict):
        return lists
    match lists.get(list_id):
        case None:
            return Permanent("list_not_there", f"the board has no list {list_id}: check the lists' ids")
        case (name, True):
            return Permanent(
                "list_archived",
                f"the list {name!r} is archived, and nobody would see the card: bring it back",
            )
        case _:
            return None


def read_found(card: Card, command: KeepRecord, board_id: str) -> Found:
    """How far the card has come. One that shows this version is done, wherever people have put it since."""
    if card.case_id != command.case_id:
        return Permanent(
            "not_our_record", f"the card {card.url} does not carry {command.case_id}: somebody changed it"
        )
    if card.version == command.version:
        return Done(card.id, card.url)
    if card.version > command.version:
        return AlreadyDone(card.id, f"{card.url} shows version {card.version}")
    if card.is_closed:
        return Permanent(
            "record_gone", f"somebody archived the card {card.url}: bring it back to have it kept"
        )
    if card.board_id != board_id:
        return Permanent("record_gone", f"somebody moved the card {card.url} to another board")
    return NotFound(_SETTLED_S, f"the card {card.url} shows version {card.version}")


def read_kept(response: Response, command: KeepRecord, absent: Permanent) -> Outcome:
    """A yes is the card itself, with our line in it. `absent`: what it means that the vendor does not find what the call named."""
    if response.status != 200:
        failure = read_failure(response)
        return absent if isinstance(failure, Permanent) and failure.code == "not_there" else failure
    card = read_card(response.json)
    if card is None or (card.case_id, card.version) != (command.case_id, command.version):
        return unreadable(response)
    return Done(card.id, card.url)


def read_maker(response: Response) -> str | NoAnswer:
    """Who made a card; empty where nobody did: a copy is no creation."""
    match response.status, response.json:
        case 200, []:
            return ""
        case 200, [{"type": "createCard", "idMemberCreator": str(member)}]:
            return member
        case 200, _:
            return unreadable(response)
        case _:
            return read_failure(response)


def read_archived(response: Response, twin: Card) -> Outcome:
    match response.status, response.json:
        case 200, {"id": twin.id, "closed": True}:
            return Done(twin.id)
        case 200, _:
            return unreadable(response)
        case _:
            return read_failure(response)


def read_health(response: Response, wanted: set[str]) -> Health:
    lists = read_lists(response)
    if not isinstance(lists, dict):
        return Health(False, lists.reason)
    missing = sorted(wanted - lists.keys())
    if missing:
        return Health(False, f"the board has no list {', '.join(missing)}: check the lists' ids")
    closed = sorted(lists[each][0] for each in wanted if lists[each][1])
    if closed:
        return Health(False, f"archived, so that nobody would see cards there: {', '.join(closed)}")
    return Health(True, f"Trello board, cards go to {', '.join(sorted(lists[each][0] for each in wanted))}")


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Trello, status {response.status}")


def unsent(failure: NoAnswer) -> NoAnswer:
    """A look before the act that saw nothing: nothing was sent, so come again."""
    match failure:
        case Unknown(reason=reason):
            return Retryable("unavailable", f"could not look before writing: {reason}")
        case _:
            return failure


def not_seen(failure: NoAnswer) -> Retryable | Unknown:
    """A look that was refused is no word about the effect."""
    match failure:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look: {code}: {reason}")
        case _:
            return failure


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's errors

GONE: Final = Permanent("record_gone", "the card is not there any more: somebody deleted it")
LIST_GONE: Final = Permanent("list_not_there", "the list is not there any more: check the lists' ids")

#: What the words of a 401 or 403 begin with, in lower case, and what to do.
UNAUTHORISED: Final[Mapping[str, str]] = {
    "invalid key": "check REFUNDFLOW_TRELLO_API_KEY",
    "invalid token": "the token was revoked or has expired: check REFUNDFLOW_TRELLO_TOKEN",
    "missing scopes": "the token may not do this: make one with the scope read,write",
    "unauthorized": "make the bot a member of the board, and give its token the scope read,write",
}

#: What the words of a refusal begin with, in lower case. Words that are not here are a refusal all the same.
REFUSALS: Final[Mapping[str, str]] = {
    "the requested resource was not found": "not_there",
    "invalid value for idlist": "list_refused",
    "invalid value for": "invalid_value",
    "invalid id": "invalid_id",
    "invalid objectid": "invalid_id",
    "error parsing body": "unreadable_request",
}


def read_failure(response: Response) -> NoAnswer:
    """An answer that is no yes. Only the vendor's own words are a no: a page of something in between says nothing."""
    words = words_of(response)
    match response.status:
        case 401 | 403:
            advice = _by_beginning(UNAUTHORISED, words) or "check the key, the token and its scopes"
            return Retryable("unauthorised", f"Trello refuses our key or token: {advice}")
        case 429:
            return Retryable("throttled", "Trello is asked too often", response.retry_after_s or _WINDOW_S)
        case 400 | 404 | 409 if words:
            return Permanent(_by_beginning(REFUSALS, words) or "refused", f"Trello says: {words}")
        case _:
            return unreadable(response)


def words_of(response: Response) -> str:
    """What the vendor says, from plain text or JSON; empty for a page, and for what is too long to be an error of its."""
    if "html" in response.headers.get("content-type", ""):
        return ""
    match response.json:
        case {"message": str(words)} | {"error": str(words)}:
            return cut(flat(words), 200)
        case None if not response.text.lstrip().startswith("<") and len(response.body) <= 500:
            return cut(flat(response.text), 200)
        case _:
            return ""


def _by_beginning(table: Mapping[str, str], words: str) -> str:
    return next((said for beginning, said in table.items() if words.lower().startswith(beginning)), "")


# ---------------------------------------------------------------------------------------------------------------------
# Webhooks


@dataclass(frozen=True, slots=True)
class TrelloInbound:
    """Actions of the board, as its webhook tells them (https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/, read
    2026-11-25). The HEAD by which a webhook is made is unsigned and has no body: the front door answers it.

    `members`: whose moves are decisions; `bot_member_id`: ourselves. Several secrets may hold, separated by commas, while one is
    replaced by another.
    """

    platform: ClassVar[str] = SPEC.platform
    secrets: Secret
    callback_url: str
    board_id: str
    approved_list_id: str
    rejected_list_id: str
    members: frozenset[str]
    bot_member_id: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """The message is the raw body and, behind it, the callback's address. Nothing in it is a time: what keeps an old delivery
        from counting twice is the action's id.
        """
        secrets = split_secrets(self.secrets.reveal())
        if not secrets or not self.callback_url:
            return Refused("no OAuth secret, or no callback address, is set")
        given = delivery.headers.get("x-trello-webhook", "")
        if not given:
            return Refused("the signature header is missing")
        message = delivery.body + self.callback_url.encode()
        if not is_any([sign_base64(secret, message, "sha1") for secret in secrets], [given]):
            return Refused("the signature does not match")
        match parse_json(delivery.body):
            case {"action": {"id": str(action_id), "type": str(topic)}} if action_id and topic:
                return Verified(action_id, topic)
            case _:
                return Refused("the body is no action")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """A move of one of our cards into a list that means a decision, by somebody who may decide. A later move away takes nothing
        back. Raises MalformedError where such a move lacks what it must have.
        """
        if topic != "updateCard":
            return Irrelevant(f"{topic} asks nothing of us")
        action = _part(parse_json(body), "action", "")
        data = _part(action, "data", "action.")
        if "listAfter" not in data:
            return Irrelevant("the card was changed and not moved")
        after = _part(data, "listAfter", "action.data.")
        place = _text(after, "id", "action.data.listAfter.")
        if place not in {self.approved_list_id, self.rejected_list_id}:
            return Irrelevant("the list means no decision")
        if _text(_part(data, "board", "action.data."), "id", "action.data.board.") != self.board_id:
            return Irrelevant("another board")
        mark = _MARK.match(_text(_part(data, "card", "action.data."), "name", "action.data.card."))
        if mark is None:
            return Irrelevant("no card of ours")
        member = _text(_part(action, "memberCreator", "action."), "id", "action.memberCreator.")
        if member == self.bot_member_id:
            return Irrelevant("our own move")
        if member not in self.members:
            return Irrelevant(f"the member {member} does not decide")
        name = after.get("name")
        return OperatorWord(
            SPEC.platform,
            case_id=mark[1],
            is_approved=place == self.approved_list_id,
            member=member,
            reason=f"the card was moved to {name}" if isinstance(name, str) and name else "",
        )


def _part(value: Any, name: str, path: str) -> Mapping[str, Any]:
    match value:
        case {**members} if isinstance(part := members.get(name), dict):
            return part
        case _:
            raise MalformedError(f"{path}{name}", "is missing")


def _text(value: Mapping[str, Any], name: str, path: str) -> str:
    match value.get(name):
        case str() as text if text:
            return text
        case _:
            raise MalformedError(f"{path}{name}", "is not a text")
