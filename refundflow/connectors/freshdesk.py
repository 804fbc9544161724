"""Freshdesk: replies to customers and notes for agents on a case's ticket; tickets that ask for a cancellation come in.

API v2 (https://developers.freshdesk.com/api, read 2026-11-25 through public copies: the vendor publishes no
machine-readable description). HTTP Basic, the agent's API key as user. The agent needs global ticket scope: a ticket that
it may not see is one that we would make again.

Quirks
- Nothing keeps a repeated call from acting twice, and a reply is e-mailed at once and cannot be taken back. So each comment
  ends with a visible line `Ref <step key>` (that hidden marks survive the clean-up of bodies is nowhere promised), and every
  try reads the ticket's conversations before it writes.
- An update cannot carry a message. One command is up to three writes: the ticket where there is none, the comment, then
  tags and status. A sequence that broke off is found by the earlier writes and continued behind them.
- `tags` replaces the whole list, and there is no compare-and-set: the ticket is read again right before it is changed, so
  that tags which rules or people added meanwhile stay.
- The search index lags by minutes; the list of tickets by `updated_since` is not said to. The case's ticket is searched for
  first and, where that finds none, looked for among the tickets that changed in the last hour.
- A closed ticket takes comments. One that is deleted or spam can only be read, and an archived one is a 404: these are
  followed by a new ticket.
- A reply to a requester without an e-mail address is taken and mailed to nobody: `replied_to` tells.
- A note is private unless told otherwise, so it is always told.
- Permissions are the agent's: the same 403 for a role that may not and a ticket out of scope.
- Webhooks are an action of automation rules: no subscription, no signature, no time stamp, no delivery id; placeholders are
  filled in as bare text, so that a quote in a value breaks the body, or could end in another field.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import CommentTicket
from refundflow.domain.facts import OrderRef
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
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
from refundflow.transport.signatures import is_any, split_secrets

_DOC: Final = "https://developers.freshdesk.com/api"

SPEC: Final = Spec(
    platform="freshdesk",
    api_version="v2",
    base_url="https://{domain}.freshdesk.com",
    operations={
        Capability.COMMENT_TICKET: Operation(
            "POST /api/v2/tickets/{id}/reply or …/notes, then PUT /api/v2/tickets/{id}; POST /api/v2/tickets",
            Idempotency.LOOKUP,
            f"{_DOC}/#reply_ticket",
        ),
        Capability.CHECK: Operation("GET /api/v2/agents/me", Idempotency.READ, f"{_DOC}/#me"),
        Capability.INBOUND: Operation(
            "Trigger webhook (an automation rule), with our token in a header",
            Idempotency.READ,
            "https://support.freshdesk.com/support/solutions/articles/132589",
        ),
    },
    # The smallest plan allows 200 calls a minute, 80 of them creations and updates, to all of the account's apps together.
    rate_per_s=1.5,
    burst=12,
    # What people wrote, and to whom.
    redact=frozenset(
        {
            "bcc_emails",
            "body",
            "body_text",
            "cc_emails",
            "description",
            "description_text",
            "fwd_emails",
            "notified_to",
            "replied_to",
            "reply_cc_emails",
            "requester",
            "subject",
            "to_emails",
        }
    ),
    # A command makes up to seven calls within one lease.
    read_s=10.0,
)

_NO_SECRET: Final = Secret("")

#: A comment whose answer was lost is in the conversations by then, whichever call of its try was the slow one.
_SETTLED_S: Final = 180.0
#: The same for a ticket: the search index is minutes behind.
_INDEXED_S: Final = 600.0
#: Tickets older than this are in the search index; younger ones are looked for in the list.
_RECENT: Final = timedelta(hours=1)

_PAGE: Final = 100
#: Whatever size of page is asked for, a page of so many may have a successor: it is the size where none is asked for.
_SHORT_PAGE: Final = 30
_MAX_PAGES: Final = 10
#: Tickets of one case: the first, and one more whenever one could take no more comments.
_MAX_TICKETS: Final = 10

_OPEN: Final = 2
_CLOSED: Final = 5
_STATUSES: Final[Mapping[str, int]] = {"open": _OPEN, "pending": 3, "solved": 4}
_MEDIUM: Final = 2
#: The vendor's number for a ticket that came by the portal; some accounts insist on a source.
_BY_PORTAL: Final = 2
_REPLY: Final = 0
_NOTE: Final = 2
_GLOBAL_SCOPE: Final = 1


# ---------------------------------------------------------------------------------------------------------------------
# What it is built from


@dataclass(frozen=True, slots=True)
class Credentials:
    """A desk. `api_key`: of an agent with global ticket scope; `domain`: the `shop` of shop.freshdesk.com; `base_url`:
    instead of it, for rehearsals; `agent_id`: the id of the key's agent in digits (empty: not compared).

    `case_field`, `order_field`: names in the API of two custom ticket fields (single-line text) that hold our case id and
    the order's number. `cancellation_tag`: the tag on which the rule asks for a cancellation; we never add it.

    `webhook_token`: what the rule sends in the header `webhook_header` (two with a comma between while one is replaced);
    `cancellation_event`: the constant typed into the rule's body; `order_platform`: where the orders live (empty: the
    shop's order platform). Raises ValueError for what cannot work.
    """

    api_key: Secret
    domain: str = ""
    base_url: str = ""
    agent_id: str = ""
    case_field: str = "cf_rf_case"
    order_field: str = "cf_order_ref"
    cancellation_tag: str = "cancellation_request"
    webhook_token: Secret = _NO_SECRET
    webhook_header: str = "X-Refundflow-Token"
    cancellation_event: str = "cancellation_requested"
    order_platform: str = ""

    def __post_init__(self) -> None:
        if not self.base_url and not re.fullmatch(r"[A-Za-z0-9-]{1,63}", self.domain, re.ASCII):
            raise ValueError(f"domain is the `shop` of shop.freshdesk.com, not {self.domain!r:.60}")
        if not re.fullmatch(r"[0-9]{0,19}", self.agent_id, re.ASCII):
            raise ValueError(f"agent_id is the agent's id in digits, not {self.agent_id!r:.60}")
        for name in ("case_field", "order_field"):
            if not re.fullmatch(r"cf_\w{1,100}", getattr(self, name), re.ASCII):
                raise ValueError(f"{name} is a custom field's name, cf_…, not {getattr(self, name)!r:.60}")
        if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", self.webhook_header, re.ASCII):
            raise ValueError(f"webhook_header is a header's name, not {self.webhook_header!r:.60}")
        if not _EVENT.fullmatch(self.cancellation_event):
            raise ValueError("cancellation_event is one word of at most 100 letters, digits and _ - . :")

    @property
    def url(self) -> str:
        return (self.base_url or SPEC.base_url.format(domain=self.domain)).rstrip("/")


#: What an event constant may look like: it becomes the topic that people filter by.
_EVENT: Final = re.compile(r"[\w.:-]{1,100}", re.ASCII)


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(credentials: Credentials, wire: Wire, now: Callable[[], datetime] = utc_now) -> Freshdesk:
    """The connector on a wire. `now`: what is recent is counted from it."""
    return Freshdesk(
        wire.http(
            platform=SPEC.platform,
            base_url=credentials.url,
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            # The key is the user, and any characters will do for a password. The key again, because the wire strikes out
            # passwords wherever they turn up, and users it does not.
            auth=(credentials.api_key.reveal(), credentials.api_key.reveal()),
            redact=SPEC.redact,
        ),
        credentials.case_field,
        credentials.order_field,
        credentials.cancellation_tag,
        credentials.agent_id,
        now,
    )


def build_inbound(credentials: Credentials, order_platform: str) -> FreshdeskInbound:
    """The reader of the desk's webhooks. `order_platform`: the shop's, for desks that name none of their own."""
    return FreshdeskInbound(
        credentials.webhook_token,
        credentials.order_platform or order_platform,
        header=credentials.webhook_header,
        event=credentials.cancellation_event,
        agent_id=credentials.agent_id,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Wire types


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as just read. `case`: the case id that it carries, "" for none, None where its custom fields are not shown;
    `is_trashed`: deleted or spam, so that it can only be read.
    """

    id: int
    status: int
    tags: tuple[str, ...]
    case: str | None
    requester_id: int | None
    is_trashed: bool


@dataclass(frozen=True, slots=True)
class Comment:
    """Our comment on a ticket. `mailed_to`: the addresses that it went to, None where that is not told; `is_answered`: the
    customer wrote after it.
    """

    id: int
    mailed_to: tuple[str, ...] | None = None
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comment is, or belongs. `ticket` None: one has to be made, for `requester_id` where that is known. `is_blind`:
    the ticket that was named is gone, and no other one of the case is there, so nothing can be told from this.
    """

    ticket: Ticket | None = None
    comment: Comment | None = None
    requester_id: int | None = None
    is_blind: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# The desk


@dataclass(frozen=True, slots=True)
class Freshdesk:
    """One desk, through one agent's key."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    case_field: str
    order_field: str
    cancellation_tag: str = ""
    agent_id: str = ""
    now: Callable[[], datetime] = utc_now

    def check(self) -> Health:
        request = Request("GET", "/api/v2/agents/me", "freshdesk.check")
        return read_health(self.http.send(request), self.agent_id)

    def comment_ticket(self, command: CommentTicket) -> Outcome:
        """Looks first, however certain the caller is; then writes what is missing, in the order ticket, comment, fields.

        A refusal after an earlier write of the same try says what is there already. Retryable is answered only where this
        try wrote nothing.
        """
        refusal = refused_command(command)
        if refusal is not None:
            return refusal
        match self._locate(command):
            case Place(ticket=Ticket() as ticket, comment=Comment() as comment):
                return self._finish(command, ticket, comment, is_new=False)
            case Place(ticket=Ticket() as ticket):
                return self._post(command, ticket.id)
            case Place() as place:
                return self._open(command, place)
            case trouble:
                return trouble

    def find_comment_ticket(self, command: CommentTicket) -> Found:
        """Whether the comment is there, and its tags and status with it. What is missing behind a comment that is there may
        be written at once: the next try finds the comment and continues behind it.
        """
        refusal = refused_command(command)
        if refusal is not None:
            return refusal
        match self._locate(command):
            case Place(ticket=Ticket() as ticket, comment=Comment() as comment):
                if is_unmailed(command, comment):
                    return unmailed(ticket.id, comment)
                if not self._changes(command, ticket, comment):
                    return done(command, ticket, comment)
                return NotFound(0.0, f"{posted(ticket.id, comment)}, and its tags and status are not all set")
            case Place(ticket=Ticket()):
                return NotFound(_SETTLED_S, "no message of the ticket carries our reference")
            case Place(is_blind=True):
                return Unknown(f"ticket {command.ticket_id} is gone, and what was written there with it")
            case Place():
                return NotFound(_INDEXED_S, "no ticket carries our case id")
            case trouble:
                return Unknown(f"the look for the comment has to wait: {trouble.reason}")

    # -- looking

    def _locate(self, command: CommentTicket) -> Place | NoAnswer:
        """Every ticket on which the comment may be is read: the one that was named, and where that one can take no comments
        (or none was named) the ones that carry the case id.
        """
        named: list[Ticket] = []
        if command.ticket_id:
            match self._ticket(command.ticket_id):
                case Ticket() as ticket:
                    named.append(ticket)
                case NotFound():
                    pass
                case trouble:
                    return trouble
        others: list[Ticket] = []
        if not any_usable(named):
            match self._tickets_of(command.case_id):
                case list() as tickets:
                    others = [ticket for ticket in tickets if str(ticket.id) != command.ticket_id]
                case refused:
                    return refused
        for ticket in (*named, *others):
            match self._comment_on(ticket.id, command):
                case Comment() as comment:
                    return Place(ticket, comment)
                case None:
                    pass
                case failed:
                    return failed
        usable = [ticket for ticket in (*named, *others) if not ticket.is_trashed]
        if usable:
            return Place(min(usable, key=lambda each: (each.status == _CLOSED, each.id)))
        requesters = [ticket.requester_id for ticket in (*named, *others)]
        is_blind = bool(command.ticket_id) and not named and not others
        return Place(requester_id=next(iter(requesters), None), is_blind=is_blind)

    def _ticket(self, ticket_id: int | str) -> Ticket | NotFound | NoAnswer:
        return read_ticket(self.http.send(ticket_request(ticket_id)), ticket_id, self.case_field)

    def _tickets_of(self, case_id: str) -> list[Ticket] | NoAnswer:
        """The tickets that carry the case id now; the list is asked only where the search has none that can be written to."""
        known: dict[int, Ticket | NotFound] = {}
        for look in (self._searched, self._recent):
            ids = look(case_id)
            if not isinstance(ids, list):
                return ids
            for ticket_id in ids:
                if ticket_id in known:
                    continue
                read = self._ticket(ticket_id)
                if not isinstance(read, Ticket | NotFound):
                    return read
                known[ticket_id] = read
            found = [each for each in known.values() if isinstance(each, Ticket) and each.case == case_id]
            if any_usable(found):
                break
        return found

    def _searched(self, case_id: str) -> list[int] | NoAnswer:
        return read_search(self.http.send(search_request(self.case_field, case_id)))

    def _recent(self, case_id: str) -> list[int] | NoAnswer:
        """Newest first, so that a ticket which comes or changes meanwhile moves others to later pages and hides none."""
        ids: list[int] = []
        since = self.now() - _RECENT
        for page in range(1, _MAX_PAGES + 1):
            match read_recent(self.http.send(recent_request(since, page)), self.case_field, case_id):
                case list() as found, is_last:
                    ids += found
                    if is_last:
                        return ids[:_MAX_TICKETS]
                case trouble, _:
                    return trouble
        return Retryable(
            "unavailable", "too many tickets changed within the hour to tell whether one is the case's"
        )

    def _comment_on(self, ticket_id: int, command: CommentTicket) -> Comment | NoAnswer | None:
        messages: list[Mapping[str, Any]] = []
        for page in range(1, _MAX_PAGES + 1):
            match read_conversations(self.http.send(conversations_request(ticket_id, page))):
                case list() as found, is_last:
                    messages += found
                    if is_last:
                        return comment_in(messages, command)
                case trouble, _:
                    return trouble
        return Retryable("unavailable", "the ticket has too many messages to tell whether one is ours")

    # -- writing

    def _open(self, command: CommentTicket, place: Place) -> Outcome:
        requester = requester_of(command, place)
        if isinstance(requester, Permanent):
            return requester
        custom = {self.case_field: command.case_id, self.order_field: command.order_number}
        request = new_ticket_request(command, requester, self._addable(command.tags), custom)
        made = read_made(self.http.send(request))
        if not isinstance(made, int):
            return made
        match self._post(command, made):
            case Permanent(code=code, reason=reason):
                return Permanent(code, f"ticket {made} was made for it; {reason}")
            case Retryable(reason=reason) | Unknown(reason=reason):
                # The next try must not come before the ticket can be found.
                return Unknown(f"ticket {made} was made for it; {reason}")
            case said:
                return said

    def _post(self, command: CommentTicket, ticket_id: int) -> Outcome:
        match read_comment(self.http.send(comment_request(command, ticket_id)), command):
            case Comment() as comment:
                pass
            case refusal:
                return refusal
        match self._ticket(ticket_id):
            case Ticket() as ticket:
                return self._finish(command, ticket, comment, is_new=True)
            case trouble:
                return Unknown(
                    f"{posted(ticket_id, comment)}; its tags and status are not set: {trouble.reason}"
                )

    def _finish(self, command: CommentTicket, ticket: Ticket, comment: Comment, *, is_new: bool) -> Outcome:
        """Tags and status, behind a comment that is there. `ticket`: read a moment ago."""
        if is_unmailed(command, comment):
            return unmailed(ticket.id, comment)
        changes = self._changes(command, ticket, comment)
        if not changes:
            said = done(command, ticket, comment)
            return said if is_new else AlreadyDone(said.reference, said.detail)
        match read_change(self.http.send(change_request(ticket.id, changes)), ticket.id):
            case None:
                return done(command, ticket, comment)
            case Permanent(code=code, reason=reason):
                return Permanent(
                    code, f"{posted(ticket.id, comment)}; its tags and status are not set: {reason}"
                )
            case Retryable(reason=reason) | Unknown(reason=reason):
                return Unknown(f"{posted(ticket.id, comment)}; its tags and status may not be set: {reason}")

    def _changes(self, command: CommentTicket, ticket: Ticket, comment: Comment) -> dict[str, Any]:
        """What the ticket lacks. Empty for a trashed one, which cannot be changed.

        A status is not set over the customer's answer to this very comment: the answer has opened the ticket again, and an
        agent must see it.
        """
        if ticket.is_trashed:
            return {}
        changes: dict[str, Any] = {}
        wanted = _STATUSES.get(command.status, ticket.status)
        is_there = ticket.status == wanted or (command.status == "solved" and ticket.status == _CLOSED)
        if not is_there and not comment.is_answered:
            changes["status"] = wanted
        known = {tag.casefold() for tag in ticket.tags}
        missing = [tag for tag in self._addable(command.tags) if tag.casefold() not in known]
        if missing:
            changes["tags"] = [*ticket.tags, *missing]
        if ticket.case == "":
            changes["custom_fields"] = {self.case_field: command.case_id}
        return changes

    def _addable(self, tags: Iterable[str]) -> list[str]:
        """Never the tag that asks for a cancellation: our own update would ask us."""
        return [tag for tag in dict.fromkeys(tags) if tag.casefold() != self.cancellation_tag.casefold()]


def any_usable(tickets: Iterable[Ticket]) -> bool:
    return any(not ticket.is_trashed for ticket in tickets)


def refused_command(command: CommentTicket) -> Permanent | None:
    """What cannot be sent at all."""
    if command.ticket_id and not is_id(command.ticket_id):
        return Permanent("no_ticket_id", f"{command.ticket_id!r:.60} is no id of a Freshdesk ticket")
    if command.status and command.status not in _STATUSES:
        return Permanent("no_status", f"{command.status!r:.60} is none of {', '.join(_STATUSES)}")
    return None


def is_id(text: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,18}", text, re.ASCII) is not None


def reference_of(ticket_id: int, comment: Comment) -> str:
    """A comment's id: the ticket is part of its address."""
    return f"{ticket_id}:{comment.id}"


def posted(ticket_id: int, comment: Comment) -> str:
    return f"the comment is there as {reference_of(ticket_id, comment)}"


def is_unmailed(command: CommentTicket, comment: Comment) -> bool:
    return command.is_public and comment.mailed_to == ()


def unmailed(ticket_id: int, comment: Comment) -> Permanent:
    return Permanent(
        "not_mailed",
        f"the reply is on the ticket as {reference_of(ticket_id, comment)}, and Freshdesk mailed it to nobody: the requester "
        "has no e-mail address",
    )


def done(command: CommentTicket, ticket: Ticket, comment: Comment) -> Done:
    """What is so, and in plain words what was left as it is."""
    told = [f"{'reply' if command.is_public else 'note'} on ticket {ticket.id}"]
    if command.is_public and comment.mailed_to is not None:
        told.append(f"mailed to {len(comment.mailed_to)}")
        known = [address.casefold() for address in comment.mailed_to]
        if command.requester_email and not any(command.requester_email.casefold() in each for each in known):
            told.append("none of them the address of the order")
    if ticket.is_trashed:
        told.append("tags and status are left, because the ticket is deleted or spam")
    elif comment.is_answered and command.status:
        told.append("the status is left, because the customer answered")
    return Done(reference_of(ticket.id, comment), "; ".join(told))


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def ticket_request(ticket_id: int | str) -> Request:
    return Request("GET", f"/api/v2/tickets/{ticket_id}", "freshdesk.read_ticket")


def search_request(case_field: str, case_id: str) -> Request:
    """The quotes belong to the query. Case ids are of letters, digits and "-", so that none can end it early."""
    query = f"\"{case_field}:'{case_id}'\""
    return Request("GET", "/api/v2/search/tickets", "freshdesk.search_tickets", params=(("query", query),))


def recent_request(since: datetime, page: int) -> Request:
    params = {
        "updated_since": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "order_by": "created_at",
        "order_type": "desc",
        "per_page": str(_PAGE),
        "page": str(page),
    }
    return Request("GET", "/api/v2/tickets", "freshdesk.list_tickets", params=tuple(params.items()))


def conversations_request(ticket_id: int, page: int) -> Request:
    path = f"/api/v2/tickets/{ticket_id}/conversations"
    params = (("per_page", str(_PAGE)), ("page", str(page)))
    return Request("GET", path, "freshdesk.read_conversations", params=params)


def new_ticket_request(
    command: CommentTicket, requester: Mapping[str, Any], tags: Sequence[str], custom: Mapping[str, str]
) -> Request:
    """The case's ticket, open, without the comment: that follows as a reply, because a description is the customer's own
    word and is mailed to nobody. `custom`: the custom fields, those without a value left out.
    """
    about = f"Cancellation of order {command.order_number}".rstrip()
    follows = f" This continues ticket {command.ticket_id}." if command.ticket_id else ""
    content = {
        "subject": command.subject or about,
        "description": to_html(f"{about}.{follows}\n\nCase {command.case_id}"),
        **requester,
        "status": _OPEN,
        "priority": _MEDIUM,
        "source": _BY_PORTAL,
        "tags": list(tags),
        "custom_fields": {name: value for name, value in custom.items() if value},
    }
    return Request("POST", "/api/v2/tickets", "freshdesk.create_ticket", json=content)


def requester_of(command: CommentTicket, place: Place) -> dict[str, Any] | Permanent:
    """Whose ticket it becomes: the command's customer, else the one of the ticket that it follows."""
    if command.requester_email:
        name = {"name": command.requester_name} if command.requester_name else {}
        return {"email": command.requester_email, **name}
    if place.requester_id is not None:
        return {"requester_id": place.requester_id}
    return Permanent(
        "no_requester", "there is no ticket to comment on, and no address of the customer to make one for"
    )


def comment_request(command: CommentTicket, ticket_id: int) -> Request:
    kind, more = ("reply", {}) if command.is_public else ("notes", {"private": True})
    path = f"/api/v2/tickets/{ticket_id}/{kind}"
    return Request("POST", path, "freshdesk.comment_ticket", json={"body": body_of(command), **more})


def change_request(ticket_id: int, changes: Mapping[str, Any]) -> Request:
    return Request("PUT", f"/api/v2/tickets/{ticket_id}", "freshdesk.update_ticket", json=dict(changes))


def body_of(command: CommentTicket) -> str:
    """The comment in HTML, with our reference as its last line."""
    words = unfilled(command.html) if command.html else to_html(command.text)
    return f"{words}<p>Ref {command.step_key}</p>"


def to_html(text: str) -> str:
    """Text as it is: paragraphs where it has empty lines, nothing in it taken for markup."""
    paragraphs = re.split(r"\n[ \t]*\n\s*", text.replace("\r\n", "\n").strip())
    lines = (html.escape(paragraph).replace("\n", "<br>") for paragraph in paragraphs)
    return unfilled("".join(f"<p>{line}</p>" for line in lines))


def unfilled(markup: str) -> str:
    """Placeholders as the texts that they are. Whether the vendor fills them in for messages of the API is not told; what a
    customer wrote must not pull a field of the ticket into a mail.
    """
    return markup.replace("{{", "&#123;&#123;").replace("{%", "&#123;%")


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_ticket(response: Response, ticket_id: int | str, case_field: str) -> Ticket | NotFound | NoAnswer:
    """A ticket whose tags are not shown is not read: writing them would erase what is there."""
    match response.status, response.json:
        case 200, {"id": int(found), "status": int(status), "tags": list(tags)} if str(found) == str(
            ticket_id
        ) and all(isinstance(tag, str) for tag in tags):
            ticket = response.json
            return Ticket(
                found,
                status,
                tuple(tags),
                case_in(ticket, case_field),
                ticket["requester_id"] if type(ticket.get("requester_id")) is int else None,
                ticket.get("spam") is True or ticket.get("deleted") is True,
            )
        case 404, _ if not response.body.strip():
            return NotFound(0.0, f"Freshdesk has no ticket {ticket_id}, or it is archived")
        case _:
            return unread(response, f"ticket {ticket_id}")


def case_in(ticket: Mapping[str, Any], case_field: str) -> str | None:
    match ticket.get("custom_fields"):
        case dict() as custom:
            value = custom.get(case_field)
            return value if isinstance(value, str) else ""
        case _:
            return None


def read_search(response: Response) -> list[int] | NoAnswer:
    """Candidates only: the index may be behind, so each is read before it counts."""
    match response.status, response.json:
        case 200, {"total": int(total), "results": list(results)} if all(is_known(each) for each in results):
            if total > len(results) or total > _MAX_TICKETS:
                # The search may have taken no notice of the field.
                return Retryable("unavailable", "the search found more tickets than one case can have")
            return sorted(each["id"] for each in results)
        case _:
            return unread(response, "the search for the case's ticket")


def is_known(value: Any) -> bool:
    """Whether it is an object with an id."""
    return isinstance(value, dict) and type(value.get("id")) is int


Page = tuple[list[int], bool] | tuple[NoAnswer, bool]
Messages = tuple[list[Mapping[str, Any]], bool] | tuple[NoAnswer, bool]


def read_recent(response: Response, case_field: str, case_id: str) -> Page:
    """The ids of one page's tickets that carry the case id, and whether it is the last page. A list that does not show the
    custom fields is not read.
    """
    match response.status, response.json:
        case 200, list(tickets) if all(
            is_known(each) and case_in(each, case_field) is not None for each in tickets
        ):
            ids = [each["id"] for each in tickets if case_in(each, case_field) == case_id]
            return ids, is_last_page(response, tickets)
        case _:
            return unread(response, "the list of tickets"), True


def read_conversations(response: Response) -> Messages:
    """One page of a ticket's messages, and whether it is the last page."""
    match response.status, response.json:
        case 200, list(messages) if all(is_known(each) for each in messages):
            return messages, is_last_page(response, messages)
        case _:
            return unread(response, "the ticket's conversations"), True


def is_last_page(response: Response, items: Sequence[Any]) -> bool:
    """A vendor that gives smaller pages than asked for, without a link to the next, must not end the look early."""
    return 'rel="next"' not in response.headers.get("link", "") and len(items) < _SHORT_PAGE


_REFERENCE: Final = re.compile(r"\bRef ([\w.-]*\w)", re.ASCII)


def comment_in(messages: Iterable[Mapping[str, Any]], command: CommentTicket) -> Comment | None:
    """Our comment, the first message of its kind with our reference: whoever answers quotes it, customers and agents."""
    ours = [message for message in messages if is_ours(message, command)]
    if not ours:
        return None
    first = min(ours, key=lambda message: int(message["id"]))
    answers = [m for m in messages if m.get("incoming") is True and m["id"] > first["id"]]
    return Comment(first["id"], mailed_to(first), bool(answers))


def is_ours(message: Mapping[str, Any], command: CommentTicket) -> bool:
    kind = _REPLY if command.is_public else _NOTE
    if message.get("incoming") is True or message.get("private") is command.is_public:
        return False
    if type(message.get("source")) is int and message["source"] != kind:
        return False  # an agent's forward, or a note about a reply
    texts = (message.get("body_text"), message.get("body"))
    return any(
        command.step_key in _REFERENCE.findall(" ".join(text.split()))
        for text in texts
        if isinstance(text, str)
    )


def mailed_to(message: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The addresses that a reply went to; a conversation that is read later may tell them under another name."""
    told = (message.get("replied_to"), message.get("to_emails"))
    return next((tuple(map(str, addresses)) for addresses in told if isinstance(addresses, list)), None)


def read_made(response: Response) -> int | Outcome:
    match response.status, response.json:
        case 201, {"id": int(ticket_id)} if ticket_id > 0:
            return ticket_id
        case _:
            return refused(response, "a new ticket")


def read_comment(response: Response, command: CommentTicket) -> Comment | Retryable | Permanent | Unknown:
    match response.status, response.json:
        case 201, {"id": int(comment_id)} if comment_id > 0 and not isinstance(comment_id, bool):
            return Comment(comment_id, mailed_to(response.json))
        case 404, _ if not response.body.strip():
            # Read a moment ago: somebody took it away in between. The next try follows it up with a new one.
            return Retryable("ticket_gone", "the ticket went away before the comment was written")
        case _:
            return refused(response, "the reply" if command.is_public else "the note")


def read_change(response: Response, ticket_id: int) -> Retryable | Permanent | Unknown | None:
    match response.status, response.json:
        case 200, {"id": int(changed)} if changed == ticket_id:
            return None
        case _:
            return refused(response, "the change of the ticket")


def unread(response: Response, what: str) -> NoAnswer:
    """A read that was not answered: nothing happened. A refusal of the read itself stays one until the settings change."""
    match refused(response, what):
        case Retryable() as later:
            return later
        case Permanent() as no if response.status == 400:
            return no
        case _:
            reason = f"Freshdesk did not show {what}: status {response.status}"
            return Retryable("unavailable", reason, response.retry_after_s)


def refused(response: Response, what: str) -> Retryable | Permanent | Unknown:
    """What is not the yes. Only the vendor's own words in a status of refusal are a no."""
    match response.status, response.json:
        case 429, _:
            return Retryable("throttled", "Freshdesk asks us to slow down", response.retry_after_s)
        case 401 | 403, {"code": str(code)} if code in ACCESS:
            return Retryable("unauthorised", ACCESS[code])
        case 401 | 403, _:
            return Retryable("unauthorised", ACCESS["access_denied"])
        case 400 | 409, {"errors": [{"code": str(code)}, *_] as errors}:
            return Permanent(code, f"Freshdesk refused {what}: {told(errors)}")
        case 400 | 405 | 409 | 415, {"code": str(code), "message": str(words)} if code:
            return Permanent(code, f"Freshdesk refused {what}: {ADVICE.get(code) or plain(words)}")
        case 405 | 409, {"message": str(words)}:
            return Permanent("not_allowed", f"Freshdesk refused {what}: {plain(words)}")
        case 404, _ if not response.body.strip():
            return Permanent("not_found", f"Freshdesk refused {what}: there is no such thing there")
        case status, _:
            return Unknown(f"unreadable answer from Freshdesk about {what}, status {status}")


def told(errors: Iterable[Any]) -> str:
    """The fields that were refused, and what to do about each."""
    named = [error for error in errors if isinstance(error, dict)]
    parts = (
        f"{e.get('field') or 'a field'}: {e.get('code')} ({ADVICE.get(str(e.get('code'))) or e.get('message')})"
        for e in named
    )
    return plain("; ".join(parts))


def plain(words: str) -> str:
    """The vendor's words without the addresses that it may quote."""
    return re.sub(r"\S+@\S+", "(address)", words)[:300]


def read_health(response: Response, agent_id: str) -> Health:
    match response.status, response.json:
        case 200, {"id": int(found), "ticket_scope": int(scope)} if scope != _GLOBAL_SCOPE:
            return Health(
                False, f"agent {found} needs global ticket scope: tickets that it cannot see are made again"
            )
        case 200, {"id": int(found), "ticket_scope": int()} if agent_id not in ("", str(found)):
            return Health(False, f"the API key is agent {found}'s, and agent_id says {agent_id}")
        case 200, {"id": int(found), "ticket_scope": int()}:
            return Health(True, f"Freshdesk answers, as agent {found}")
        case _:
            return Health(False, refused(response, "the check").reason)


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's error codes

#: 401 and 403: the house's fault, all of them.
ACCESS: Final[Mapping[str, str]] = {
    "invalid_credentials": "Freshdesk refused the API key: give the agent's present one",
    "access_denied": "the API key's agent may not do this: give it a role that may change tickets, and global ticket scope",
    "require_feature": "the desk's plan does not have what this call needs",
    "account_suspended": "the Freshdesk account is suspended",
}

#: What to do about a refused field or call.
ADVICE: Final[Mapping[str, str]] = {
    "missing_field": "the desk's settings require it; let our agent leave it empty, or fill it in and try again",
    "invalid_value": "the desk does not take this value",
    "datatype_mismatch": "the field is of another type than we send; our custom fields are single-line texts",
    "invalid_field": "the desk has no such field; create the custom field, or name the right one in the settings",
    "duplicate_value": "the value is taken already",
    "readonly_field": "the field cannot be written",
    "inaccessible_field": "our agent may not write the field",
    "incompatible_field": "the field does not fit the others",
    "invalid_json": "Freshdesk cannot read the call",
    "inconsistent_state": "the ticket is in a state that does not allow it",
}


# ---------------------------------------------------------------------------------------------------------------------
# Inbound

_UNREADABLE: Final = "unreadable"
_MAX_NUMBER: Final = 100


@dataclass(frozen=True, slots=True)
class FreshdeskInbound:
    """Deliveries of an automation rule, with a secret of ours in a header. The body is only a hint: whoever acts on it reads
    the order first.

    What is typed into the rule's action "Trigger webhook" (JSON, advanced): `{"source": "freshdesk", "event":
    "cancellation_requested", "ticket_id": "{{ticket.id}}", "ticket_status": "{{ticket.status}}", "ticket_tags":
    "{{ticket.tags}}", "requester_email": "{{ticket.requester.email}}", "order_ref": "{{ticket.cf_order_ref}}", "updated_at":
    "{{ticket.updated_at}}"}`. Neither subject nor description: their quotes break it. A rule that runs on updates needs the
    condition that somebody else than our agent performed them.

    `order_platform`: where the orders live; `event`: the constant that asks for a cancellation; `agent_id`: our own agent
    (empty: not compared). A rule that can say who performed the update does so in a field `performed_by`; where it is our
    agent the delivery is our own echo.
    """

    platform: ClassVar[str] = SPEC.platform
    token: Secret
    order_platform: str
    header: str = "X-Refundflow-Token"
    event: str = "cancellation_requested"
    agent_id: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """One state of one ticket is one event: the vendor numbers no deliveries, so ticket, constant, the time of its last
        change and the order's number name it, and the whole body where it tells no time. A body that cannot be read is kept
        too, for a person.
        """
        tokens = split_secrets(self.token.reveal())
        if not tokens:
            return Refused("no webhook token is set")
        if not is_any(tokens, [delivery.headers.get(self.header.lower(), "")]):
            return Refused(f"the header {self.header} does not hold the token")
        fields = fields_in(delivery.body)
        ticket_id, event, when, number = (
            text_in(fields, name) for name in ("ticket_id", "event", "updated_at", "order_ref")
        )
        topic = event if _EVENT.fullmatch(event) else _UNREADABLE
        if topic == _UNREADABLE or not is_id(ticket_id) or not when or is_placeholder(when):
            return Verified(f"body:{hashlib.sha256(delivery.body).hexdigest()}", topic)
        named = json.dumps([ticket_id, event, when, number])
        return Verified(f"{ticket_id}:{hashlib.sha256(named.encode()).hexdigest()}", topic)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError for a body that its own values broke, and for a request that does not name its order."""
        fields = fields_in(body)
        if not fields:
            raise MalformedError("body", "is no JSON object; a quote in a placeholder's value breaks it")
        repeated = repeated_in(body)
        if repeated:
            raise MalformedError(repeated, "is there twice: a value has broken out of its quotes")
        if fields.get("source") != SPEC.platform:
            raise MalformedError("source", f"is not {SPEC.platform!r}")
        event = text_in(fields, "event")
        if not event:
            raise MalformedError("event", "is missing: the constant of the rule")
        if event != self.event:
            return Irrelevant(f"a rule's {event!r:.100} asks nothing of us")
        if self.agent_id and text_in(fields, "performed_by") == self.agent_id:
            return Irrelevant("our own change of the ticket, reported back")
        ticket_id = text_in(fields, "ticket_id")
        if not is_id(ticket_id):
            raise MalformedError("ticket_id", "is no id of a ticket")
        return CancellationRequested(
            order=OrderRef(self.order_platform, number=order_number_in(fields)),
            reason="customer",
            requested_by=shown(text_in(fields, "requester_email"), 200),
            note=note_of(ticket_id, fields),
            ticket_id=ticket_id,
        )


def fields_in(body: bytes) -> Mapping[str, Any]:
    """The fields of a delivery; empty where it is no JSON object."""
    match parse_json(body):
        case dict() as fields:
            return fields
        case _:
            return {}


def repeated_in(body: bytes) -> str:
    """A field that the object has twice, of which a reader would see the last one only; empty where there is none. For bodies
    that are JSON objects.
    """
    names = [name for name, _ in json.loads(body, object_pairs_hook=tuple)]
    return next((name for name in names if names.count(name) > 1), "")


def text_in(fields: Mapping[str, Any], name: str) -> str:
    """A field's text, or its whole number as text: a placeholder may stand without quotes."""
    match fields.get(name):
        case str() as text:
            return text.strip()
        case bool():
            return ""
        case int() as number:
            return str(number)
        case _:
            return ""


def order_number_in(fields: Mapping[str, Any]) -> str:
    number = text_in(fields, "order_ref")
    if not number:
        raise MalformedError("order_ref", "the order's number is missing: the ticket's field is empty")
    if is_placeholder(number):
        raise MalformedError("order_ref", "the placeholder was not filled in: its name is wrong in the rule")
    if len(number) > _MAX_NUMBER or number != shown(number, _MAX_NUMBER):
        raise MalformedError("order_ref", f"is no order number of at most {_MAX_NUMBER} characters")
    return number


def is_placeholder(text: str) -> bool:
    return "{{" in text


def shown(text: str, limit: int) -> str:
    """A text that the database can keep: no NUL, no half of a surrogate pair. An unfilled placeholder is nothing."""
    if is_placeholder(text):
        return ""
    return "".join(c for c in text if c >= " " and not "\ud800" <= c <= "\udfff")[:limit]


def note_of(ticket_id: str, fields: Mapping[str, Any]) -> str:
    status, tags = (shown(text_in(fields, name), 200) for name in ("ticket_status", "ticket_tags"))
    return "; ".join(
        part for part in (f"Freshdesk ticket {ticket_id}", status, f"tags {tags}" if tags else "") if part
    )
