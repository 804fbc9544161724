"""Zendesk: a ticket asks for a cancellation, and the case's news are written on it. Never a source of truth for money.

Support API v2, described by the vendor's OpenAPI 3.0.3 ("Support API" 2.0.0) in botbrains-io/python-zendesk 66ad8af, and
developer.zendesk.com (read 2026-11-25). HTTP Basic as `{email}/token`, or a bearer token with the scopes `read` and `write`
(`tickets:read` is not enough for audits).

Quirks
- There is no call that adds a comment: a ticket is updated with one.
- Nothing keeps a repeated update from writing twice. Our reference travels in the update's `metadata`, which no reader of
  the ticket sees, and the ticket's audits are read for it before every write. `safe_update` with the stamp that was read
  before that look lets only one of two workers through. (`safe_update: false` would protect like true; it is never sent.)
- Creating takes an `Idempotency-Key` for two hours, and the same key with another body is refused. The key is the case's,
  not the step's: two steps of one case that both find no ticket cannot make two; the second one is told so, comes again
  and finds the first one's.
- `tags` in an update takes the place of all tags, so they are added by their own call, before the comment: a sequence that
  breaks off in between leaves tags, which are added again without effect, and no comment, which is what a look asks for.
- A closed ticket takes nothing more: a follow-up is made, which carries our case id and is found by it the next time.
- Our case id is a ticket's `external_id` only where we made the ticket: one that a customer opened may carry the shop's own.
  External ids need not be unique, and archived tickets are not listed by them.
- A comment without `public` is private where the ticket's first one was: it is always said.
- `{{…}}` and `{%…%}` in what an agent writes are filled in. A word joiner between the braces keeps them as they are.
- Bodies over 64 kB are cut without a word; plain bodies lose their line breaks, so all go as HTML.
- A ticket that belongs to nobody cannot be solved: we take it.
- A webhook's signature covers TIMESTAMP + BODY; an older page of the vendor had it the other way round. "Test webhook"
  signs with a secret that everybody knows.
- Webhooks that a trigger calls have the body that we wrote (`trigger_body`). The desk's own ticket events do not tell
  custom fields, and so no order number.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, NoAnswer, Operation, Spec
from refundflow.domain.commands import CommentTicket
from refundflow.domain.facts import OrderRef
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Greeting,
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
from refundflow.transport.signatures import is_any, is_fresh, sign_base64, split_secrets

_DOC: Final = "https://developer.zendesk.com/api-reference"

SPEC: Final = Spec(
    platform="zendesk",
    api_version="v2",
    base_url="https://{subdomain}.zendesk.com",
    operations={
        Capability.COMMENT_TICKET: Operation(
            "PUT /api/v2/tickets/{ticket_id} | POST /api/v2/tickets",
            Idempotency.LOOKUP,
            f"{_DOC}/ticketing/tickets/tickets/",
        ),
        Capability.CHECK: Operation(
            "GET /api/v2/tickets", Idempotency.READ, f"{_DOC}/ticketing/tickets/tickets/"
        ),
        Capability.INBOUND: Operation(
            "X-Zendesk-Webhook-Signature",
            Idempotency.READ,
            "https://developer.zendesk.com/documentation/webhooks/verifying/",
        ),
    },
    # The smallest plan allows 200 calls a minute for the whole account; a comment takes four or five, rarely more.
    rate_per_s=2.0,
    burst=20,
    redact=frozenset(
        {
            *("subject", "raw_subject", "title", "description", "body", "html_body", "plain_body"),
            *("requester", "value", "previous_value"),
        }
    ),
    # Five calls that all come back at the last moment end within a step's lease.
    read_s=12.0,
)

#: A write whose answer was lost can still be running when our time limit ends; a minute later it shows or never was.
_SETTLED_S: Final = 60.0
#: Closed tickets are archived after months, and are then no longer listed by their external id.
_SHOWN_S: Final = 30 * 24 * 3600.0

_PAGE: Final = 100
_MAX_PAGES: Final = 15

_BODY_BYTES: Final = 64 * 1024
#: Whatever the characters, as HTML they stay below the limit.
_TEXT_CHARS: Final = 10_000

_TOLERANCE_S: Final = 300.0
_CONFLICT_WAIT_S: Final = 2.0
_MADE_WAIT_S: Final = 5.0

_OP: Final = "refundflow_op"
_CASE: Final = "refundflow_case"

#: What "Test webhook" signs with before a webhook exists; printed in the vendor's documentation.
TEST_SECRET: Final = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="  # noqa: S105 (known to everybody)
#: The topic of a delivery whose body a trigger fills in.
TRIGGERED: Final = "conditional_ticket_events"
EVENT_PREFIX: Final = "zen:event-type:ticket."

#: One order number as shops write them: no spaces (so never two), at least one digit.
_ORDER_NUMBER: Final = re.compile(r"#?(?=[A-Za-z./_-]*[0-9])[A-Za-z0-9][A-Za-z0-9./_-]{0,39}", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9][0-9T:.Z+-]{9,39}", re.ASCII)
_ID: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

_NO_SECRET: Final = Secret("")


@dataclass(frozen=True, slots=True)
class Desk:
    """What is agreed with the desk; the fields are those of `Credentials`."""

    email: str = ""
    agent_id: str = ""
    order_field_id: str = ""
    cancellation_tag: str = "order_cancellation"
    sent_tag: str = "refundflow"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A desk, and the agent that we are there (one of its own: limits count per agent, and it is how we know our own updates).

    `subdomain` (or `base_url` instead, for rehearsals); `email` with `api_token`, or `access_token`; `agent_id`: our agent's
    number; `webhook_secret`: the webhook's signing secret, two joined by a comma while it is changed; `order_field_id`: the custom
    field that holds the order number; `cancellation_tag`: what asks for a cancellation; `sent_tag`: what we put on every ticket that
    we write on, and that the trigger must not add itself; `order_platform`: where the order numbers are from (empty: the shop's
    default). Raises ValueError for what cannot work.
    """

    subdomain: str = ""
    email: str = ""
    api_token: Secret = _NO_SECRET
    access_token: Secret = _NO_SECRET
    webhook_secret: Secret = _NO_SECRET
    agent_id: str = ""
    order_field_id: str = ""
    cancellation_tag: str = "order_cancellation"
    sent_tag: str = "refundflow"
    order_platform: str = ""
    base_url: str = ""

    def __post_init__(self) -> None:
        if not self.base_url and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", self.subdomain, re.ASCII):
            raise ValueError(
                "a Zendesk subdomain is the first part of the desk's address: letters and digits"
            )
        if not self.access_token and not (self.email and self.api_token):
            raise ValueError("Zendesk needs an agent's e-mail and API token, or an access token")
        for name, value in (("agent", self.agent_id), ("custom field", self.order_field_id)):
            if value and not is_id(value):
                raise ValueError(f"a Zendesk {name} is named by its number, not {value!r}")
        tags = (self.cancellation_tag, self.sent_tag)
        if any(not tag or tag != tag_of(tag) for tag in tags) or tags[0] == tags[1]:
            raise ValueError("Zendesk's two tags are different words in lower case, without spaces")

    @property
    def desk(self) -> Desk:
        tags = (self.cancellation_tag, self.sent_tag)
        return Desk(self.email, self.agent_id, self.order_field_id, *tags)


def build(credentials: Credentials, wire: Wire) -> Zendesk:
    """The connector on a wire: with the API token where there is one, else with the access token."""
    is_basic = bool(credentials.email and credentials.api_token)
    bearer = {"Authorization": f"Bearer {credentials.access_token.reveal()}"}
    return Zendesk(
        wire.http(
            platform=SPEC.platform,
            base_url=(credentials.base_url or f"https://{credentials.subdomain}.zendesk.com").rstrip("/"),
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            headers=None if is_basic else bearer,
            auth=(f"{credentials.email}/token", credentials.api_token.reveal()) if is_basic else None,
            redact=SPEC.redact,
        ),
        credentials.desk,
    )


def build_inbound(credentials: Credentials, order_platform: str) -> ZendeskInbound:
    """The desk's webhooks. `order_platform`: where order numbers are from, unless the credentials say otherwise."""
    platform = credentials.order_platform or order_platform
    return ZendeskInbound(credentials.webhook_secret, platform, credentials.desk)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as far as we need it. `updated_at`: its stamp, as it came; 0: nobody's."""

    ticket_id: int
    status: str
    updated_at: str
    tags: tuple[str, ...]
    external_id: str
    requester_id: int
    assignee_id: int

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more comments. A solved one does."""
        return self.status == "closed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comment goes when no ticket takes it: onto a new one. `follows`: the closed ticket that it continues."""

    follows: Ticket | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page of a ticket's audits. `ours`: the audit with our reference, 0 where it is not here; `cursor`: where to read on."""

    ours: int = 0
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Zendesk:
    """A desk, through one agent. What was read or tagged before the comment is no effect: a try that ends there certainly wrote
    nothing, so it is Retryable, and what was left is found and continued.
    """

    spec: ClassVar[Spec] = SPEC
    http: Http
    desk: Desk

    def check(self) -> Health:
        return read_health(self.http.send(check_request()))

    def comment_ticket(self, command: CommentTicket) -> Outcome:
        if not (command.text.strip() or command.html.strip()):
            return Permanent("empty", "a comment needs a text")
        match self._place(command):
            case Ticket() as ticket:
                return self._comment(command, ticket)
            case Place(follows=source):
                request = create_request(command, self.desk, source)
                return read_created(self.http.send(request), command.case_id, source)
            case refusal:
                return refusal

    def find_comment_ticket(self, command: CommentTicket) -> Found:
        """Reads the audits of every ticket on which the comment may be."""
        if command.ticket_id and not is_id(command.ticket_id):
            return _strange_id(command)
        tickets = self._of_case(command)
        if not isinstance(tickets, tuple):
            return uncertain(tickets)
        named = [int(command.ticket_id)] if command.ticket_id else []
        is_gone = False
        for ticket_id in dict.fromkeys((*named, *(ticket.ticket_id for ticket in tickets))):
            match self._look(ticket_id, command):
                case AuditPage(ours=0):
                    continue
                case AuditPage(ours=audit_id):
                    return Done(str(ticket_id), f"audit {audit_id}")
                case Permanent(code="ticket_gone"):
                    is_gone = True
                case trouble:
                    return uncertain(trouble)
        if is_gone:
            return NotFound(None, f"ticket {command.ticket_id} was deleted, and what was on it with it")
        return NotFound(_SETTLED_S, "no audit of the case's tickets carries our reference", _SHOWN_S)

    def _place(self, command: CommentTicket) -> Ticket | Place | Retryable | Permanent:
        """The ticket that the comment goes to: the named one, else the case's own, else (or where it is closed) a new one."""
        source: Ticket | None = None
        if command.ticket_id:
            if not is_id(command.ticket_id):
                return _strange_id(command)
            named = self._ticket(int(command.ticket_id))
            if not isinstance(named, Ticket) or not named.is_closed:
                return named
            source = named
        tickets = self._of_case(command)
        if not isinstance(tickets, tuple):
            return tickets
        match [ticket for ticket in tickets if not ticket.is_closed]:
            case [ticket]:
                return ticket
            case []:
                return Place(max(tickets, key=lambda each: each.ticket_id, default=source))
            case several:
                ids = ", ".join(str(ticket.ticket_id) for ticket in several)
                return Permanent(
                    "ambiguous",
                    f"tickets {ids} all carry {command.case_id} as their external id: merge them into one",
                )

    def _comment(self, command: CommentTicket, ticket: Ticket) -> Outcome:
        """Tags, stamp, look, comment, in this order: the stamp is older than the look, so whoever writes after the look undoes it."""
        if missing := [tag for tag in wanted_tags(command, self.desk) if tag not in ticket.tags]:
            refusal = read_tagged(self.http.send(tags_request(ticket, missing)), missing)
            if refusal is not None:
                return refusal
            match self._ticket(ticket.ticket_id):
                case Ticket() as ticket:
                    pass
                case trouble:
                    return trouble
        match self._look(ticket.ticket_id, command):
            case AuditPage(ours=0):
                return read_updated(self.http.send(update_request(command, ticket, self.desk)), ticket)
            case AuditPage(ours=audit_id):
                return AlreadyDone(str(ticket.ticket_id), f"audit {audit_id}")
            case trouble:
                return trouble

    def _ticket(self, ticket_id: int) -> Ticket | Retryable | Permanent:
        return read_ticket(self.http.send(ticket_request(ticket_id)), ticket_id)

    def _of_case(self, command: CommentTicket) -> tuple[Ticket, ...] | Retryable | Permanent:
        return read_tickets(self.http.send(case_request(command.case_id)), command.case_id)

    def _look(self, ticket_id: int, command: CommentTicket) -> AuditPage | Retryable | Permanent:
        """The audit with our reference, or an empty page once all audits were read."""
        cursor = ""
        for _ in range(_MAX_PAGES):
            match read_audits(self.http.send(audits_request(ticket_id, cursor)), command.step_key):
                case AuditPage(ours=0, cursor=str(following)) if following:
                    cursor = following
                case answer:
                    return answer
        return Permanent(
            "too_many_audits",
            f"ticket {ticket_id} has more than {_MAX_PAGES * _PAGE} audits to look through: close it, and a follow-up is made",
        )


def uncertain(trouble: NoAnswer) -> Unknown:
    """A look that got no answer says nothing about the effect, whatever its error."""
    return Unknown(f"could not look: {trouble.reason}")


def is_id(text: str) -> bool:
    """Whether a text is one of the vendor's numbers, and may be put into a path."""
    return _ID.fullmatch(text) is not None


def _strange_id(command: CommentTicket) -> Permanent:
    return Permanent("invalid_ticket", f"{command.ticket_id!r} is no ticket number of Zendesk's")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_request() -> Request:
    """A list that is empty: no customer's data for a sign of life."""
    params = (("external_id", "refundflow-check"),)
    return Request("GET", "/api/v2/tickets", "zendesk.check", params=params)


def ticket_request(ticket_id: int) -> Request:
    return Request("GET", f"/api/v2/tickets/{ticket_id}", "zendesk.get_ticket")


def case_request(case_id: str) -> Request:
    return Request("GET", "/api/v2/tickets", "zendesk.find_tickets", params=(("external_id", case_id),))


def audits_request(ticket_id: int, cursor: str) -> Request:
    return Request(
        "GET",
        f"/api/v2/tickets/{ticket_id}/audits",
        "zendesk.find_comment_ticket",
        params=(("page[size]", str(_PAGE)), *((("page[after]", cursor),) if cursor else ())),
    )


def tags_request(ticket: Ticket, tags: list[str]) -> Request:
    """Adds tags. (Here the vendor writes `safe_update` as a text.)"""
    return Request(
        "PUT",
        f"/api/v2/tickets/{ticket.ticket_id}/tags",
        "zendesk.add_tags",
        json={"tags": tags, "updated_stamp": ticket.updated_at, "safe_update": "true"},
    )


def update_request(command: CommentTicket, ticket: Ticket, desk: Desk) -> Request:
    return Request(
        "PUT",
        f"/api/v2/tickets/{ticket.ticket_id}",
        "zendesk.comment_ticket",
        json={
            "ticket": {
                "comment": comment_of(command),
                **status_of(command, desk, ticket.assignee_id),
                "safe_update": True,
                "updated_stamp": ticket.updated_at,
                "metadata": marks_of(command),
            }
        },
    )


def create_request(command: CommentTicket, desk: Desk, source: Ticket | None) -> Request:
    """A ticket of our own for the case. A follow-up is the same person's as the ticket before it; its tags are named, so that it does
    not begin with the ones of the closed ticket.
    """
    ticket: dict[str, Any] = {
        "subject": plain(command.subject or f"Cancellation of order {command.order_number}"),
        "external_id": command.case_id,
        "tags": wanted_tags(command, desk),
        "comment": comment_of(command),
        "metadata": marks_of(command),
        **status_of(command, desk, 0),
    }
    if source is not None:
        ticket["via_followup_source_id"] = source.ticket_id
    if source is not None and source.requester_id:
        ticket["requester_id"] = source.requester_id
    elif command.requester_email:
        ticket["requester"] = {
            "name": plain(command.requester_name or command.requester_email),
            "email": command.requester_email,
        }
    if desk.order_field_id:
        ticket["custom_fields"] = [{"id": int(desk.order_field_id), "value": command.order_number}]
    return Request(
        "POST",
        "/api/v2/tickets",
        "zendesk.create_ticket",
        headers={"Idempotency-Key": creation_key(command, source)},
        json={"ticket": ticket},
    )


def creation_key(command: CommentTicket, source: Ticket | None) -> str:
    """One key for all steps of the case, and for each closed ticket that is followed; another one after a definite no."""
    follows = f".after.{source.ticket_id}" if source is not None else ""
    return f"refundflow:{command.case_id}.ticket{follows}:{command.key.rpartition(':')[2]}"


def comment_of(command: CommentTicket) -> dict[str, Any]:
    return {"html_body": html_of(command), "public": command.is_public}


def html_of(command: CommentTicket) -> str:
    """What was written as HTML (of a whole page, what is in its body), else (or where that would be cut off) the text with its line
    breaks and nothing of it markup.
    """
    page = re.search(r"<body\b[^>]*>(.*)</body>", command.html, re.DOTALL | re.IGNORECASE)
    written = plain(page[1] if page else command.html).strip()
    if written and len(written.encode()) <= _BODY_BYTES:
        return written
    words = command.text if len(command.text) <= _TEXT_CHARS else command.text[: _TEXT_CHARS - 1] + "…"
    paragraphs = re.split(r"\n{2,}", plain(html.escape(words.strip())))
    return "".join(f"<p>{paragraph.replace(chr(10), '<br>')}</p>" for paragraph in paragraphs)


def plain(text: str) -> str:
    """Text in which the desk finds no placeholder: two braces never stand together, and no tag of its template language begins."""
    return re.sub(r"\{(?=[{%])", "{\u2060", text)


def status_of(command: CommentTicket, desk: Desk, assignee_id: int) -> dict[str, Any]:
    """The status where one is asked for. Nobody's ticket cannot be solved, so that it becomes ours first."""
    if not command.status:
        return {}
    if command.status != "solved" or assignee_id:
        return {"status": command.status}
    if desk.agent_id:
        return {"status": command.status, "assignee_id": int(desk.agent_id)}
    return {"status": command.status, **({"assignee_email": desk.email} if desk.email else {})}


def wanted_tags(command: CommentTicket, desk: Desk) -> list[str]:
    """The tags of the command and ours, never the one that asks for a cancellation."""
    tags = dict.fromkeys((desk.sent_tag, *map(tag_of, command.tags)))
    return [tag for tag in tags if tag and tag != desk.cancellation_tag]


def tag_of(text: str) -> str:
    """A tag as the desk keeps it: lower case; a space would make two of it."""
    return re.sub(r"\s+", "_", text.strip().lower())


def marks_of(command: CommentTicket) -> dict[str, str]:
    """What comes back in the audit under `metadata.custom`."""
    return {_OP: command.step_key, _CASE: command.case_id}


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_ticket(response: Response, ticket_id: int) -> Ticket | Retryable | Permanent:
    match response.status, response.json:
        case 200, {"ticket": dict(value)}:
            ticket = ticket_of(value)
            if ticket is not None and ticket.ticket_id == ticket_id:
                return ticket
        case _:
            pass
    return refusal_of(response) or not_read(response)


def read_tickets(response: Response, case_id: str) -> tuple[Ticket, ...] | Retryable | Permanent:
    """The case's tickets, exactly its. A list that goes on is no answer: no case has a page full of tickets."""
    match response.status, response.json:
        case 200, {"tickets": list(values), **rest}:
            tickets = [ticket_of(value) for value in values]
            known = [ticket for ticket in tickets if ticket is not None]
            if len(known) == len(tickets) and next_cursor(rest, is_told=False) == "":
                return tuple(ticket for ticket in known if ticket.external_id == case_id)
        case _:
            pass
    return refusal_of(response) or not_read(response)


def ticket_of(value: Any) -> Ticket | None:
    match value:
        case {"id": int(ticket_id), "status": str(status), "updated_at": str(stamp)} if status and stamp:
            tags = value.get("tags")
            return Ticket(
                ticket_id,
                status,
                stamp,
                tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
                str(value.get("external_id") or ""),
                _number(value.get("requester_id")),
                _number(value.get("assignee_id")),
            )
        case _:
            return None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def read_audits(response: Response, step_key: str) -> AuditPage | Retryable | Permanent:
    match response.status, response.json:
        case 200, {"audits": list(audits), **rest}:
            for audit in audits:
                match audit:
                    case {"id": int(audit_id), "metadata": {"custom": {"refundflow_op": str(op)}}} if (
                        op == step_key
                    ):
                        return AuditPage(ours=audit_id)
            cursor = next_cursor(rest, is_told=True)
            if cursor is not None:
                return AuditPage(cursor=cursor)
        case _:
            pass
    return refusal_of(response) or not_read(response)


def next_cursor(rest: Mapping[Any, Any], *, is_told: bool) -> str | None:
    """Where a list goes on, "" at its end, None where that cannot be told. `is_told`: a list that says nothing of its end is not
    taken for whole.
    """
    match rest:
        case {"meta": {"has_more": True, "after_cursor": str(cursor)}} if cursor:
            return cursor
        case {"meta": {"has_more": False}} | {"next_page": None}:
            return ""
        case {"meta": _} | {"next_page": _}:
            return None
        case _:
            return None if is_told else ""


def read_tagged(response: Response, tags: list[str]) -> Retryable | Permanent | None:
    """None: the tags are there."""
    match response.status, response.json:
        case 200, {"tags": list(there)} if set(tags) <= {tag for tag in there if isinstance(tag, str)}:
            return None
        case _:
            # Adding them once more does no harm, and the comment has not been written.
            return refusal_of(response) or not_read(response)


def read_updated(response: Response, ticket: Ticket) -> Outcome:
    match response.status, response.json:
        case 200, {"ticket": {"id": int(ticket_id)}, "audit": {"id": int(audit_id)}} if (
            ticket_id == ticket.ticket_id
        ):
            return Done(str(ticket_id), f"audit {audit_id}")
        case _:
            return refusal_of(response) or unreadable(response)


def read_created(response: Response, case_id: str, source: Ticket | None) -> Outcome:
    match response.status, response.json:
        case 201, {"ticket": {"id": int(ticket_id), "external_id": str(reference)}} if reference == case_id:
            detail = f"follows the closed ticket {source.ticket_id}" if source else "a new ticket"
            if response.headers.get("x-idempotency-lookup") == "hit":
                return AlreadyDone(str(ticket_id), detail)
            return Done(str(ticket_id), detail)
        case _:
            return refusal_of(response) or unreadable(response)


def refusal_of(response: Response) -> Retryable | Permanent | None:
    """The vendor's explicit "not now" or "no" to any call; None where it said neither."""
    code, words = told(response.json)
    match response.status:
        case 429:
            return Retryable("throttled", "Zendesk asks us to slow down", response.retry_after_s)
        case 401 | 403:
            return UNAUTHORISED
        case status if 400 <= status < 500 and code in ERRORS:
            return ERRORS[code]
        case 422 if code == "RecordInvalid" and says_closed(response.json):
            return Retryable("closed_meanwhile", "the ticket was closed meanwhile; a follow-up is made")
        case 400 | 422 if code:
            return Permanent(code, words or "Zendesk gives no reason")
        case _:
            return None


def told(body: Any) -> tuple[str, str]:
    """An error's code and the vendor's words, without the addresses that it likes to quote. `error` is a text or an object."""
    match body:
        case {"error": str(code), **rest}:
            problems = [str(rest.get("description") or rest.get("message") or ""), *problems_of(rest)]
            words = ": ".join(part for part in problems if part)
        case {"error": {"title": str(code), **rest}}:
            words = str(rest.get("message") or "")
        case _:
            return "", ""
    return code, re.sub(r"\S+@\S+", "(address)", words)[:300]


def problems_of(error: Mapping[Any, Any]) -> Iterator[str]:
    match error.get("details"):
        case dict(details):
            for problems in details.values():
                for problem in problems if isinstance(problems, list) else ():
                    match problem:
                        case {"description": str(words)}:
                            yield words
        case _:
            return


def says_closed(body: Any) -> bool:
    """Whether a refusal is about a ticket that is closed. The wording is not described; the field at fault is."""
    match body:
        case {"details": {"status": _}}:
            return "closed" in " ".join(problems_of(body)).lower()
        case _:
            return False


def not_read(response: Response) -> Retryable:
    """A call before the comment got no usable answer."""
    return Retryable(
        "unavailable",
        f"unreadable answer from Zendesk before anything was written, status {response.status}",
        response.retry_after_s,
    )


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Zendesk, status {response.status}")


def read_health(response: Response) -> Health:
    match response.status, response.json:
        case 200, {"tickets": list()}:
            return Health(True, "Zendesk answers, and tickets can be read")
        case 401 | 403, _:
            return Health(False, UNAUTHORISED.reason)
        case 404, _:
            return Health(False, "there is no Zendesk here: check REFUNDFLOW_ZENDESK_SUBDOMAIN")
        case status, _:
            return Health(False, f"Zendesk answered with status {status}")


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's errors

UNAUTHORISED: Final = Retryable(
    "unauthorised",
    "Zendesk refused the agent: give REFUNDFLOW_ZENDESK_EMAIL and REFUNDFLOW_ZENDESK_API_TOKEN of an agent who may see and "
    "change all tickets, or an access token with the scopes read and write (tickets:read does not reach the audits)",
)

#: What an error with a 4xx means that is no plain validation error.
ERRORS: Final[Mapping[str, Retryable | Permanent]] = {
    "RecordNotFound": Permanent("ticket_gone", "the ticket is not there: somebody deleted it"),
    "UpdateConflict": Retryable(
        "conflict", "somebody changed the ticket between our look and our update", _CONFLICT_WAIT_S
    ),
    # The key is the case's and was used with another body, so the case has a ticket by now.
    "IdempotentRequestError": Retryable(
        "ticket_exists", "another step of the case made its ticket meanwhile", _MADE_WAIT_S
    ),
}


# ---------------------------------------------------------------------------------------------------------------------
# Webhooks


def trigger_body(order_field_id: str) -> dict[str, str]:
    """The JSON body for the webhook of a trigger, with the desk's placeholders. The trigger's conditions: the ticket is updated, its
    tags contain the cancellation tag and not the trigger's own guard tag, the current user is not our agent; its actions: add
    the guard tag, call the webhook.

    No text that people write freely is in it: a quotation mark would break the JSON.
    """
    return {
        "ticket_id": "{{ticket.id}}",
        "order": f"{{{{ticket.ticket_field_{order_field_id}}}}}",
        "tags": "{{ticket.tags}}",
        "requester_email": "{{ticket.requester.email}}",
        "updated_at": "{{ticket.updated_at_with_timestamp}}",
        "updated_by": "{{current_user.email}}",
        "updated_by_id": "{{current_user.id}}",
    }


@dataclass(frozen=True, slots=True)
class ZendeskInbound:
    """Webhooks of a desk. `order_platform`: where the order numbers are from."""

    platform: ClassVar[str] = SPEC.platform
    secret: Secret
    order_platform: str
    desk: Desk = Desk()

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused | Greeting:
        """Base64 of the HMAC over timestamp and raw body; the secret is taken as text. Either of two secrets will do."""
        signature = delivery.headers.get("x-zendesk-webhook-signature", "")
        timestamp = delivery.headers.get("x-zendesk-webhook-signature-timestamp", "")
        if not signature or not _TIMESTAMP.fullmatch(timestamp):
            return Refused("the signature or its timestamp is missing or cannot be read")
        message = timestamp.encode() + delivery.body
        if is_any([sign_base64(TEST_SECRET, message)], [signature]):
            # Signed with a secret that is printed in the documentation: good for a greeting, never for an event.
            return Greeting("a webhook is tried out before it is made")
        secrets = [secret for secret in split_secrets(self.secret.reveal()) if secret != TEST_SECRET]
        if not secrets:
            return Refused("no webhook secret is set")
        if not is_any([sign_base64(secret, message) for secret in secrets], [signature]):
            return Refused("the signature does not match")
        signed_at = time_of(timestamp)
        if signed_at is None or not is_fresh(int(signed_at.timestamp()), now, _TOLERANCE_S):
            return Refused(f"the signature is not from the last {_TOLERANCE_S:.0f} seconds")
        invocation = delivery.headers.get("x-zendesk-webhook-invocation-id", "")
        return identify(delivery.body, invocation)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where a request lacks what it must have: then a person of the shop looks at the ticket."""
        match parse_json(body):
            case {"type": str(), "detail": dict(detail)} as value if topic.startswith(EVENT_PREFIX):
                return self._read_event(topic, detail, value.get("event"))
            case dict(value) if topic == TRIGGERED:
                return self._read_call(value)
            case _:
                raise MalformedError("$", "is not the JSON object that the trigger's webhook is set up with")

    def _read_call(self, value: Mapping[str, Any]) -> Reading:
        """What a trigger's webhook says, in the body of `trigger_body`."""
        ticket_id = _text(value, "ticket_id")
        if not is_id(ticket_id):
            raise MalformedError("ticket_id", "is no ticket number")
        agent = _text(value, "updated_by").lower()
        if self._is_ours(agent) or self._is_ours(_text(value, "updated_by_id")):
            return Irrelevant("our own update of the ticket")
        tags = tags_in(value)
        if self.desk.cancellation_tag not in tags:
            return Irrelevant(f"ticket {ticket_id} does not carry the tag {self.desk.cancellation_tag}")
        if self.desk.sent_tag in tags:
            return Irrelevant(
                f"ticket {ticket_id} carries {self.desk.sent_tag}, so its request was taken up before: take that tag off to ask again"
            )
        requester = _text(value, "requester_email").lower()
        note = _text(value, "note")[:500]
        return CancellationRequested(
            OrderRef(self.order_platform, number=order_in(value, ticket_id)),
            reason="customer",
            requested_by=agent or requester,
            note=f"asked in Zendesk ticket {ticket_id}{f': {note}' if note else ''}",
            ticket_id=ticket_id,
            # An agent has logged in. A requester may be no more than the sender line of an e-mail.
            is_proven=bool(agent) and agent != requester,
        )

    def _read_event(self, topic: str, detail: Mapping[str, Any], event: Any) -> Reading:
        """The desk's own ticket events: they tell that a ticket was marked, and not for which order."""
        match topic.removeprefix(EVENT_PREFIX), event:
            case "tags_changed", {"tags_added": list(added)} if self.desk.cancellation_tag in added:
                if self._is_ours(_text(detail, "actor_id")):
                    return Irrelevant("our own update of the ticket")
                raise MalformedError(
                    "detail.custom_fields",
                    f"ticket {_text(detail, 'id')} was marked, and a ticket event does not tell the order number: let a trigger call "
                    "the webhook",
                )
            case _:
                return Irrelevant(f"{topic} asks nothing of us")

    def _is_ours(self, user: str) -> bool:
        """Whether a user, by e-mail (lower case) or number, is our agent."""
        return bool(user) and user in (self.desk.email.lower(), self.desk.agent_id)


def identify(body: bytes, invocation: str) -> Verified:
    """What a delivery is called. Its id is taken from what the signature covers wherever that tells one firing from the next; whether
    the invocation's id stays the same when it is sent again is not written down. A body that cannot be read is kept all the same.
    """
    match parse_json(body):
        case {"type": str(topic), "id": str(event_id)} if topic.startswith(EVENT_PREFIX) and event_id:
            return Verified(event_id, topic)
        case {"updated_at": str(stamp)} if stamp:
            return Verified(digest_of(body), TRIGGERED)
        case _:
            return Verified(invocation or digest_of(body), TRIGGERED)


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def tags_in(value: Mapping[str, Any]) -> list[str]:
    """Tags as a placeholder gives them (one text) or as a list, in lower case."""
    match value.get("tags"):
        case str() as text:
            return re.split(r"[\s,]+", text.strip().lower())
        case list(tags):
            return [tag.lower() for tag in tags if isinstance(tag, str)]
        case _:
            raise MalformedError("tags", "is missing from the body of the trigger's webhook")


def order_in(value: Mapping[str, Any], ticket_id: str) -> str:
    """The order number that somebody typed in: free text, so it has to look like exactly one."""
    number = _text(value, "order")
    if not number:
        raise MalformedError(
            "order", f"ticket {ticket_id} is marked for cancellation, and no order number is in its field"
        )
    if not _ORDER_NUMBER.fullmatch(number):
        raise MalformedError(
            "order", f"what ticket {ticket_id} has in its field does not look like one order number"
        )
    return number


def _text(value: Mapping[str, Any], name: str) -> str:
    match value.get(name):
        case str() as text:
            return text.strip()
        case bool():
            return ""
        case int() as number:
            return str(number)
        case _:
            return ""


def time_of(text: str) -> datetime | None:
    """An aware time, or None. The only parser that knows which days a month has reports by raising."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
