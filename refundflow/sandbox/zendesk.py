"""Practice Zendesk: tickets, their comments, audits and tags, search, and webhooks on ticket activity, under `/zendesk/`.

Paths begin with `/api/v2` (a `.json` at the end is allowed). Shapes: the vendor's Support API 2.0.0 description and
https://developer.zendesk.com, read 2026-11-24; wording of errors partly from public client code. Where they are silent,
`Habits` names the practised reading.

Strict about: Basic `{email}/token:{token}` or a bearer token with its scopes, a first comment, known users, statuses, an
assignee before a ticket is solved, closed tickets (422; only a follow-up leads on), 30 updates in 10 minutes per ticket,
5,000 comments, 1,000 search results. Traps kept: `tags` in an update replaces all tags; `safe_update: false` is as good as
true; two updates in one second have the same stamp; comments become private where the first one was; `{{…}}` in an
agent's comment is filled in; 64 kB are cut off in silence; `users/me` without credentials is a 200 about nobody.
Only creating a ticket is idempotent, by `Idempotency-Key`, for two hours. Search lags behind by `Habits.search_delay_s`.

`seed({"tickets"?: [{"comment", "subject"?, "external_id"?, "tags"?, "status"?, "requester"?: {"name", "email"}, "requester_id"?,
"assignee_id"?, "custom_fields"?: {id: value}, "public"?, "flags"?, "is_archived"?}], "users"?: [{"name", "email", "id"?, "role"?}],
"fields"?: [{"id", "title", "is_required"?}], "triggers"?: [{"title", "any_tags"?, "none_tags"?, "not_by"?: [user id], "add_tags"?,
"remove_tags"?, "status"?, "notifies"?}], "body"?: {…}, "scopes"?: […], "habits"?: {…}})`.
`triggers` takes the place of those that were there: `TRIGGER` fires once per ticket; `LOOPING_TRIGGER`, which lacks its guard,
fires on every update, our own too. `body` is the webhook's template, with the desk's placeholders.

`settle` takes `{"ticket": id, …}` with what a person at the desk does: any of "comment" (with "public"?, "author"?, "flags"?),
"add_tags", "remove_tags", "status", "subject", "assignee_id", "custom_fields" (by "author", else `PERSON_ID`), "is_archived", "is_deleted".

Book: `create_ticket` (with its first comment), `add_comment`, `update_ticket` (fields, status, tags of a ticket update),
`update_tags` (the tag endpoints), `run_trigger` (what the desk did by itself). `reference` is the ticket's external id, `metadata`
what the caller wrote for the audit. What a person does is not in the book.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import urlencode

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

EMAIL: Final = "refunds@practice.example"
API_TOKEN: Final = "practice-zendesk-api-token"  # noqa: S105 (a practice secret, known to everybody)
ACCESS_TOKEN: Final = "practice-zendesk-access-token"  # noqa: S105 (a practice secret, known to everybody)
AGENT_ID: Final = 901
PERSON_ID: Final = 902
SUBDOMAIN: Final = "practice-shop"
ACCOUNT_ID: Final = 12514403
WEBHOOK_ID: Final = "01PRACTICEWEBHOOK000000001"
ORDER_FIELD: Final = 360000000101

TAG: Final = "order_cancellation"
SENT_TAG: Final = "rf_sent"
TRIGGER: Final[Record] = {
    "title": "Tell refundflow of a cancellation",
    "any_tags": [TAG],
    "none_tags": [SENT_TAG],
    "add_tags": [SENT_TAG],
}
LOOPING_TRIGGER: Final[Record] = {"title": "Tell refundflow of a cancellation, unguarded", "any_tags": [TAG]}
BODY: Final[Record] = {
    "ticket_id": "{{ticket.id}}",
    "external_id": "{{ticket.external_id}}",
    "order": f"{{{{ticket.ticket_field_{ORDER_FIELD}}}}}",
    "status": "{{ticket.status}}",
    "tags": "{{ticket.tags}}",
    "requester_email": "{{ticket.requester.email}}",
    "updated_at": "{{ticket.updated_at_with_timestamp}}",
    "updated_by": "{{current_user.email}}",
}
CONDITIONAL: Final = "conditional_ticket_events"
EVENT_PREFIX: Final = "zen:event-type:ticket."

KEY_LIFETIME: Final = timedelta(hours=2)
UPDATES_MOST: Final = 30
UPDATES_WINDOW: Final = timedelta(minutes=10)
COMMENTS_MOST: Final = 5_000
BODY_MOST: Final = 64 * 1024
PAGE_SIZE: Final = 100
SEARCH_MOST: Final = 1_000

_STATUSES: Final = ("new", "open", "pending", "hold", "solved", "closed")
_CHOICES: Final = {
    "status": _STATUSES,
    "priority": ("urgent", "high", "normal", "low"),
    "type": ("problem", "incident", "question", "task"),
}
_PLAIN: Final = ("subject", "external_id", "status", "priority", "type", "assignee_id", "requester_id")
_PERSON_DOES: Final = frozenset(
    ("ticket", "comment", "public", "author", "flags", "add_tags", "remove_tags", "status", "subject")
) | {"assignee_id", "custom_fields", "is_archived", "is_deleted"}
_SCOPES: Final = {
    "get_me": ("read", "users:read"),
    "list_audits": ("read",),
    **dict.fromkeys(
        ("list_tickets", "get_ticket", "list_comments", "get_tags", "search"), ("read", "tickets:read")
    ),
}
_WRITE_SCOPES: Final = ("write", "tickets:write")
_TERM: Final = re.compile(r'(\w+)(:|<=|>=|<|>)("[^"]*"|\S+)|"([^"]*)"|(\S+)')
_PLACEHOLDER: Final = re.compile(r"<code>.*?</code>|(\\+)?\{\{\s*([\w.]+)\s*\}\}", re.DOTALL)
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LIMITED: Final = "Number of allowed API requests per minute exceeded"


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or what a rehearsal wants otherwise.

    `search_delay_s`: how old what search sees is. `closes_solved_after_h`: when the desk's own automation closes a solved ticket
    (None: never). `needs_assignee_to_solve`: the Assignee field is required for solving, as in a new account.
    `false_is_safe`: `safe_update: false` protects like true, as the vendor writes (clients saw otherwise).
    `splits_tags`: a tag with spaces becomes several (else underscores take their place). `keeps_empty_audits`: an update that
    changes nothing leaves an audit, with its metadata. `is_event_webhook`: the webhook is subscribed to ticket events
    (else triggers call it). `signs_retries_anew`: each try has its own time stamp. `keeps_invocation_id`: copies and
    retries have the same invocation id.
    """

    search_delay_s: float = 60.0
    closes_solved_after_h: float | None = 96.0
    needs_assignee_to_solve: bool = True
    false_is_safe: bool = True
    splits_tags: bool = True
    keeps_empty_audits: bool = False
    is_event_webhook: bool = False
    signs_retries_anew: bool = True
    keeps_invocation_id: bool = True


@dataclass(frozen=True, slots=True)
class Trigger:
    """One of the desk's own rules, asked after each update: `any_tags` and no `none_tags` on the ticket, updater not in `not_by`."""

    title: str
    any_tags: Sequence[str] = ()
    none_tags: Sequence[str] = ()
    not_by: Sequence[int] = ()
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    status: str = ""
    notifies: bool = True

    def fits(self, tags: Iterable[str], updater: int) -> bool:
        has = set(tags)
        return (
            updater not in self.not_by
            and (not self.any_tags or not has.isdisjoint(self.any_tags))
            and has.isdisjoint(self.none_tags)
        )


@dataclass(frozen=True, slots=True)
class TicketField:
    id: int
    title: str
    is_required: bool = False


@dataclass(slots=True)
class Ticket:
    """A ticket with all that hangs on it. `data`: vendor-shaped. `seen`: its states, oldest first, for search that lags behind."""

    data: Record
    comments: list[Record] = field(default_factory=list)
    audits: list[Record] = field(default_factory=list)
    seen: list[tuple[datetime, Record]] = field(default_factory=list)
    updates: list[datetime] = field(default_factory=list)
    is_archived: bool = False
    is_deleted: bool = False

    @property
    def id(self) -> int:
        number: int = self.data["id"]
        return number


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that a key is good for, and the request that it belongs to."""

    at: datetime
    request: Any
    answer: Answer


def fail(status: int, error: str, description: str, **more: Any) -> NoReturn:
    """Ends the call with the vendor's error."""
    raise RefusalError(Answer(status, {"error": error, "description": description, **more}))


def fail_attribute(name: str, what: str, status: int = 400) -> NoReturn:
    """Ends the call with the error about a parameter, whose `error` is an object."""
    message = f"You passed an invalid value for the {name} attribute. Invalid parameter: {name} {what}"
    raise RefusalError(Answer(status, {"error": {"title": "Invalid attribute", "message": message}}))


def invalid(name: str, *descriptions: str, error: str | None = None) -> Answer:
    """The answer to a record that the vendor does not take, and why: one problem for each description."""
    problems = [{"description": each, **({"error": error} if error else {})} for each in descriptions]
    body = {"error": "RecordInvalid", "description": "Record validation errors", "details": {name: problems}}
    return Answer(422, body)


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """A webhook's signature, in base64: over time stamp and body, the secret taken as text."""
    return base64.b64encode(
        hmac.new(secret.encode(), timestamp.encode() + body, hashlib.sha256).digest()
    ).decode()


class Zendesk(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "zendesk"

    def __init__(self, world: World) -> None:
        # Not part of the state: an id is never given twice, not even after a reset.
        self._ticket_ids = count(4001)
        self._ids = count(9_000_001)
        super().__init__(world)
        tickets, one = "/api/v2/tickets", "/api/v2/tickets/{id}"
        self._routes = (
            Route("GET", "/api/v2/users/me", "get_me", self._get_me),
            Route("GET", "/api/v2/search", "search", self._search),
            Route("GET", tickets, "list_tickets", self._list_tickets),
            Route("POST", tickets, "create_ticket", self._create),
            Route("GET", one, "get_ticket", self._get_ticket),
            Route("PUT", one, "update_ticket", self._update),
            Route("GET", f"{one}/comments", "list_comments", self._list_comments),
            Route("GET", f"{one}/audits", "list_audits", self._list_audits),
            Route("GET", f"{one}/tags", "get_tags", self._get_tags),
            Route("PUT", f"{one}/tags", "add_tags", self._change_tags),
            Route("POST", f"{one}/tags", "set_tags", self._change_tags),
            Route("DELETE", f"{one}/tags", "remove_tags", self._change_tags),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def find(self, call: Call) -> Operation:
        return super().find(replace(call, path=call.path.removesuffix(".json")))

    def clear(self) -> None:
        self.habits = Habits()
        self.scopes: frozenset[str] = frozenset(("read", "write"))
        self.users: dict[int, Record] = {}
        self._add_user("Refund Flow", EMAIL, AGENT_ID, "agent")
        self._add_user("Ada Agent", "ada.agent@practice.example", PERSON_ID, "agent")
        self.fields = {ORDER_FIELD: TicketField(ORDER_FIELD, "Order number")}
        self.triggers: list[Trigger] = [Trigger(**TRIGGER)]
        self.body: Record = dict(BODY)
        self.tickets: dict[int, Ticket] = {}
        self._kept: dict[str, Kept] = {}
        self._told: list[tuple[int, Event]] = []
        self._signed: dict[str, tuple[str, str]] = {}

    # ------------------------------------------------------------ the person at the controls

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.scopes = frozenset(data.get("scopes", self.scopes))
            self.body = dict(data.get("body", self.body))
            self.fields |= {each["id"]: TicketField(**each) for each in data.get("fields", ())}
            if "triggers" in data:
                self.triggers = [Trigger(**each) for each in data["triggers"]]
            users = [
                self._add_user(each["name"], each["email"], each.get("id"), each.get("role", "end-user"))
                for each in data.get("users", ())
            ]
            tickets = [self._seed_ticket(each) for each in data.get("tickets", ())]
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed zendesk: {wrong!r}") from wrong
        except RefusalError as refused:
            raise ValueError(f"cannot seed zendesk: {refused.answer.body}") from refused
        return {"users": [each["id"] for each in users], "tickets": tickets}

    def _seed_ticket(self, asked: Record) -> int:
        known = {**asked, "custom_fields": _as_list(asked.get("custom_fields", {}))}
        status = known.pop("status", "open")
        comment = {
            "body": asked["comment"],
            "public": asked.get("public", True),
            "flags": asked.get("flags", ()),
        }
        requester = self._requester(known, PERSON_ID)
        if status not in _STATUSES:
            raise ValueError(f"cannot seed zendesk: no status {status!r}")
        ticket = self._new_ticket(requester, requester, "web")
        events = self._set(ticket, {**self._changes(ticket, known), "status": status}, is_new=True)
        events.append(self._comment(ticket, comment, requester))
        self._record(ticket, requester, events, {}, "web")
        ticket.is_archived = bool(asked.get("is_archived", False))
        return ticket.id

    def settle(self, data: Record) -> Record:
        ticket = self.tickets.get(data.get("ticket", 0))
        if ticket is None or ticket.is_deleted:
            raise NoSuchObjectError(f"zendesk has no ticket {data.get('ticket')!r}")
        if strange := sorted(set(data) - _PERSON_DOES):
            raise ValueError(f"a person at the desk cannot settle {', '.join(strange)}")
        author = data.get("author", PERSON_ID)
        if author not in self.users:
            raise NoSuchObjectError(f"zendesk has no user {author!r}")
        ticket.is_archived = bool(data.get("is_archived", ticket.is_archived))
        if data.get("is_deleted"):
            ticket.is_deleted = True
            self._tell(ticket, author, [("soft_deleted", {})])
            return {"ticket": ticket.id, "is_deleted": True}
        if ticket.data["status"] == "closed" and not set(data) <= {"ticket", "is_archived"}:
            raise ValueError(f"ticket {ticket.id} is closed")
        if data.get("status", "open") not in _STATUSES:
            raise ValueError(f"zendesk has no status {data['status']!r}")
        wanted: Record = {name: data[name] for name in ("status", "subject", "assignee_id") if name in data}
        if wanted.get("status") == "solved" and ticket.data["assignee_id"] is None:
            wanted.setdefault("assignee_id", author)  # who solves a ticket of nobody's takes it
        wanted["custom_fields"] = _as_list(data.get("custom_fields", {}))
        wanted["tags"] = _with(ticket.data["tags"], data.get("add_tags", ()), data.get("remove_tags", ()))
        comment = {"body": data["comment"], "public": data.get("public", True)} if "comment" in data else None
        try:
            self._change(
                ticket, author, wanted, comment and {**comment, "flags": data.get("flags", ())}, {}, "web"
            )
        except RefusalError as refused:
            raise ValueError(f"zendesk does not settle this: {refused.answer.body}") from refused
        return {"ticket": ticket.id, "status": ticket.data["status"], "tags": list(ticket.data["tags"])}

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """An agent's API token with Basic, or an access token that has the scope."""
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "":
                # The vendor tells a stranger who he is; everything else it keeps.
                return None if call.operation == "get_me" else self.unauthorised(call)
            case "basic":
                try:
                    told = base64.b64decode(credentials, validate=True)
                except binascii.Error:
                    told = b""
                is_known = hmac.compare_digest(told, f"{EMAIL}/token:{API_TOKEN}".encode())
                return None if is_known else self.unauthorised(call)
            case "bearer" if hmac.compare_digest(credentials.strip().encode(), ACCESS_TOKEN.encode()):
                needed = _SCOPES.get(call.operation, _WRITE_SCOPES)
                return None if self.scopes.intersection(needed) else _FORBIDDEN
            case "bearer":
                return Answer(401, {"error": "invalid_token", "error_description": "The token is not valid"})
            case _:
                return self.unauthorised(call)

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(401, {"error": "Couldn't authenticate you"})

    def refuse(self, call: Call) -> Answer:
        """The error that the fault's `code` names: closed, UpdateConflict, Forbidden, or the text of a validation error."""
        code = call.fault.code if call.fault is not None else ""
        match code:
            case "closed":
                return _CLOSED
            case "UpdateConflict":
                return _CONFLICT
            case "Forbidden":
                return _FORBIDDEN
            case _:
                return invalid("base", code or "Ticket: is not valid", error="InvalidValue")

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(404, {"error": "InvalidEndpoint", "description": "Not found"})

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        if status == 429:
            return _LIMITED
        return {"error": "InternalError" if status == 500 else "Unavailable", "description": "Try again"}

    def begin(self, call: Call) -> Answer | None:  # noqa: ARG002 (the contract's signature)
        """The desk's automation has its turn: what was solved long ago is closed."""
        if (hours := self.habits.closes_solved_after_h) is not None:
            due = self.world.clock() - timedelta(hours=hours)
            for ticket in self.tickets.values():
                if ticket.is_deleted or ticket.data["status"] != "solved":
                    continue
                if _moment(ticket.data["updated_at"]) <= due:
                    self._change(ticket, -1, {"status": "closed"}, None, {}, "rule")
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:  # noqa: ARG002 (the contract's signature)
        """Every answer shows the account's limit; a 429 always says how long to wait."""
        headers = {"X-Rate-Limit": "700", "X-Rate-Limit-Remaining": "699", **answer.headers}
        if answer.status == 429:
            headers["X-Rate-Limit-Remaining"] = "0"
            if "retry-after" not in {name.lower() for name in headers}:
                headers["Retry-After"] = "60"
        kind = "text/plain" if answer.body == _LIMITED else answer.content_type
        return replace(answer, headers=headers, content_type=kind)

    # ------------------------------------------------------------ writing

    def _create(self, call: Call) -> Answer:
        asked = _asked(call)
        key, now = call.headers.get("idempotency-key", "").strip(), self.world.clock()
        kept = self._kept.get(key)
        if kept is not None and now - kept.at < KEY_LIFETIME:
            if kept.request != call.json:
                fail(
                    400,
                    "IdempotentRequestError",
                    "Request parameters don't match the given idempotency key",
                )
            return replace(kept.answer, headers={**kept.answer.headers, "x-idempotency-lookup": "hit"})
        answer = self._create_anew(call, asked, key)
        if not key:
            return answer
        self._kept[key] = Kept(now, call.json, answer)
        return replace(answer, headers={**answer.headers, "x-idempotency-lookup": "miss"})

    def _create_anew(self, call: Call, asked: Record, key: str) -> Answer:
        metadata = _metadata(asked)
        comment = _comment_of(asked)
        if comment is None:
            raise RefusalError(invalid("base", "Description: cannot be blank", error="BlankValue"))
        source = self._followed(asked)
        self._check(asked)
        author = self._known_user("author_id", comment.get("author_id", AGENT_ID))
        submitter = self._known_user("submitter_id", asked.get("submitter_id", author))
        requester = self._requester(asked, AGENT_ID)
        if source is not None:
            # Whoever asks is the submitter of a follow-up; its tags come from before unless it brings its own.
            submitter = AGENT_ID
            asked = {"tags": list(source.data["tags"]), **asked}
        ticket = self._new_ticket(requester, submitter, "api")
        if source is not None:
            ticket.data["via"]["source"] = {
                "from": {"ticket_id": source.id, "subject": source.data["subject"]},
                "to": {},
                "rel": "follow_up",
            }
            source.data["followup_ids"].append(ticket.id)
        events = self._set(ticket, self._changes(ticket, asked), is_new=True)
        if "author_id" not in comment:
            author = submitter
        said = self._comment(ticket, comment, author)
        self.book.write(
            "create_ticket",
            id=str(ticket.id),
            target={"ticket": str(ticket.id), "followup_of": None if source is None else str(source.id)},
            reference=ticket.data["external_id"],
            idempotency_key=key or None,
            metadata=metadata,
            requester=self.users[requester]["email"],
            tags=list(ticket.data["tags"]),
            status=ticket.data["status"],
            public=said["public"],
            text=said["body"],
        )
        audit = self._record(ticket, AGENT_ID, [*events, said], metadata, "api", is_new=True)
        return Answer(
            201,
            {"ticket": self._shown(ticket), "audit": audit},
            {"Location": f"{_base(call)}{_path(ticket)}"},
        )

    def _update(self, call: Call) -> Answer:
        ticket, asked = self._ticket(call), _asked(call)
        self._check_limit(ticket)
        metadata, comment = _metadata(asked), _comment_of(asked)
        self._check_open(ticket)
        self._check_stamp(ticket, asked)
        self._check(asked)
        if comment is not None:
            self._known_user("author_id", comment.get("author_id", AGENT_ID))
            if len(ticket.comments) >= COMMENTS_MOST:
                raise RefusalError(
                    invalid("base", f"A ticket has {COMMENTS_MOST} comments at most", error="TooManyComments")
                )
        if "requester" in asked or "requester_id" in asked:
            asked = {**asked, "requester_id": self._requester(asked, AGENT_ID)}
        audit = self._change(ticket, AGENT_ID, asked, comment, metadata, "api", has_book=True)
        return Answer(200, {"ticket": self._shown(ticket), "audit": audit})

    def _change_tags(self, call: Call) -> Answer:
        ticket, asked = self._ticket(call), call.json
        if not isinstance(asked, dict) or not _is_texts(asked.get("tags")):
            fail_attribute("tags", "must be an array of strings")
        self._check_open(ticket)
        if call.operation != "set_tags":
            self._check_stamp(ticket, asked)
        tags = self._tags(asked["tags"])
        before = list(ticket.data["tags"])
        match call.operation:
            case "add_tags":
                wanted = _with(before, tags, ())
            case "set_tags":
                wanted = tags
            case _:
                wanted = _with(before, (), tags)
        if wanted != before:
            self.book.write(
                "update_tags",
                id=str(ticket.id),
                target={"ticket": str(ticket.id)},
                reference=ticket.data["external_id"],
                added=[each for each in wanted if each not in before],
                removed=[each for each in before if each not in wanted],
            )
            self._change(ticket, AGENT_ID, {"tags": wanted}, None, {}, "api")
        if call.operation == "remove_tags":
            return Answer(204)
        return Answer(201 if call.operation == "set_tags" else 200, {"tags": list(ticket.data["tags"])})

    def _change(
        self,
        ticket: Ticket,
        updater: int,
        asked: Mapping[str, Any],
        comment: Record | None,
        metadata: Record,
        channel: str,
        *,
        has_book: bool = False,
    ) -> Record:
        """One update of a ticket by somebody: fields and a comment, then the desk's triggers; one audit for all."""
        changes = self._changes(ticket, asked)
        self._check_solve(ticket, changes)
        before = _told_of(ticket)
        events = self._set(ticket, changes)
        target = {"ticket": str(ticket.id)}
        if events and has_book:
            self.book.write(
                "update_ticket",
                id=str(ticket.id),
                target=target,
                reference=ticket.data["external_id"],
                metadata=metadata,
                changes={each["field_name"]: each["value"] for each in events},
                status=ticket.data["status"],
            )
        if comment is not None:
            said = self._comment(ticket, comment, comment.get("author_id", updater))
            events.append(said)
            if has_book:
                self.book.write(
                    "add_comment",
                    id=str(said["id"]),
                    target=target,
                    reference=ticket.data["external_id"],
                    metadata=metadata,
                    public=said["public"],
                    text=said["body"],
                    author=said["author_id"],
                )
        return self._record(ticket, updater, events, metadata, channel, before=before)

    def _record(
        self,
        ticket: Ticket,
        updater: int,
        events: list[Record],
        metadata: Record,
        channel: str,
        *,
        is_new: bool = False,
        before: Record | None = None,
    ) -> Record:
        """Closes an update: triggers, stamp, audit, what search will see, webhooks. Without events nothing has happened."""
        now = self.world.clock()
        audit: Record = {
            "id": next(self._ids),
            "ticket_id": ticket.id,
            "created_at": _stamp(now),
            "author_id": updater,
            "metadata": {"system": {"client": "practice"}, "custom": metadata},
            "via": _via(channel),
            "events": events,
        }
        for each in events:
            if each["type"] == "Comment":
                each["audit_id"] = audit["id"]
                ticket.comments[-1]["audit_id"] = audit["id"]
        if not events:
            if self.habits.keeps_empty_audits and metadata:
                ticket.audits.append(audit)
            return deepcopy(audit)
        ticket.data["updated_at"], ticket.data["generated_timestamp"] = _stamp(now), int(now.timestamp())
        is_seed = before is None and not is_new
        calls = [] if is_seed else self._run_triggers(ticket, updater, audit)
        ticket.audits.append(audit)
        # What was seeded has been there long enough for search to know.
        ticket.seen.append((_LONG_AGO if is_seed else now, self._shown(ticket)))
        if not is_seed:
            self._tell(ticket, updater, [("created", {})] if is_new else self._differences(ticket, before))
        for event in calls:
            self._tell_event(ticket, event)
        return deepcopy(audit)

    def _run_triggers(self, ticket: Ticket, updater: int, audit: Record) -> list[Event]:
        """The desk's rules in their order, from the first again after each that changed something, each once per update.

        The audit takes up what they do; the calls they make are returned.
        """
        calls: list[Event] = []
        waiting = list(self.triggers)
        while ticket.data["status"] != "closed":
            trigger = next((each for each in waiting if each.fits(ticket.data["tags"], updater)), None)
            if trigger is None:
                break
            waiting.remove(trigger)
            wanted: Record = {"tags": _with(ticket.data["tags"], trigger.add_tags, trigger.remove_tags)}
            if trigger.status:
                wanted["status"] = trigger.status
            events = self._set(ticket, wanted)
            audit["events"] += [{**each, "via": _via("rule", trigger.title)} for each in events]
            self.book.write(
                "run_trigger",
                id=str(ticket.id),
                target={"ticket": str(ticket.id)},
                reference=ticket.data["external_id"],
                title=trigger.title,
                updater=updater,
                notifies=trigger.notifies,
            )
            if trigger.notifies:
                calls.append(self._call_event(ticket, updater))
        return calls

    # ------------------------------------------------------------ the parts of a write

    def _new_ticket(self, requester: int, submitter: int, channel: str) -> Ticket:
        now, number = self.world.clock(), next(self._ticket_ids)
        empty = dict.fromkeys(
            (
                *("external_id", "subject", "raw_subject", "description", "type", "priority", "recipient"),
                *("assignee_id", "group_id", "organization_id", "problem_id", "due_at"),
            )
        )
        ticket = Ticket(
            {
                "id": number,
                "url": f"https://{SUBDOMAIN}.zendesk.com/api/v2/tickets/{number}.json",
                "via": _via(channel),
                "created_at": _stamp(now),
                "updated_at": _stamp(now),
                "generated_timestamp": int(now.timestamp()),
                **empty,
                "status": "new",
                "requester_id": requester,
                "submitter_id": submitter,
                "is_public": False,
                "has_incidents": False,
                "tags": [],
                **{name: [] for name in ("collaborator_ids", "follower_ids", "email_cc_ids", "followup_ids")},
                "custom_fields": {},
            }
        )
        self.tickets[number] = ticket
        return ticket

    def _changes(self, ticket: Ticket, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the ticket shall have otherwise; a custom field under its number. What the vendor does not know it leaves out."""
        wanted: dict[str, Any] = {name: asked[name] for name in _PLAIN if name in asked}
        if wanted.get("external_id") is not None and "external_id" in wanted:
            wanted["external_id"] = str(wanted["external_id"])
        if asked.get("tags") is not None:
            wanted["tags"] = self._tags(asked["tags"])
        had = ticket.data["custom_fields"]
        fields = {each["id"]: each.get("value") for each in asked.get("custom_fields", ())}
        return {name: value for name, value in wanted.items() if ticket.data[name] != value} | {
            str(number): value
            for number, value in fields.items()
            if number in self.fields and had.get(number) != value
        }

    def _set(self, ticket: Ticket, changes: Mapping[str, Any], *, is_new: bool = False) -> list[Record]:
        """Changes the ticket; returns what an audit says of it."""
        events: list[Record] = []
        for name, value in changes.items():
            place: dict[Any, Any] = ticket.data["custom_fields"] if name.isdigit() else ticket.data
            key: Any = int(name) if name.isdigit() else name
            previous = place.get(key)
            if previous == value:
                continue
            place[key] = value
            event = {
                "id": next(self._ids),
                "type": "Create" if is_new else "Change",
                "field_name": name,
                "value": deepcopy(value),
            }
            events.append(event if is_new else {**event, "previous_value": deepcopy(previous)})
        ticket.data["raw_subject"] = ticket.data["subject"]
        return events

    def _comment(self, ticket: Ticket, asked: Record, author: int) -> Record:
        """Writes a comment; returns what an audit says of it. Public or not: as said, else as the first comment was."""
        is_first = not ticket.comments
        is_public = asked.get("public", True if is_first else ticket.comments[0]["public"])
        if (markup := asked.get("html_body")) is None:
            text = re.sub(r" {2,}", " ", re.sub(r"\n{2,}", "\n", re.sub(r"<[^>]*>", "", asked["body"])))
            text = _cut(self._filled(ticket, text, author))
            markup = f'<div class="zd-comment" dir="auto">{html.escape(text, quote=False)}</div>'
        else:
            markup = _cut(self._filled(ticket, markup, author))
            text = html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"</p>\s*<p>|<br\s*/?>", "\n", markup)))
        said: Record = {
            "id": next(self._ids),
            "type": "Comment",
            "author_id": author,
            "body": text,
            "html_body": markup,
            "plain_body": text,
            "public": bool(is_public),
            "attachments": [],
            "audit_id": None,
        }
        flags = list(asked.get("flags", ()))
        metadata = {"system": {"client": "practice"}, **({"flags": flags} if flags else {})}
        ticket.comments.append(
            {
                **said,
                "via": _via("api"),
                "created_at": _stamp(self.world.clock()),
                "metadata": {**metadata, "custom": {}},
            }
        )
        if is_first:
            ticket.data["description"] = text
        ticket.data["is_public"] = ticket.data["is_public"] or bool(is_public)
        return said

    def _requester(self, asked: Record, default: int) -> int:
        """Whose ticket it is: a known user, or one made of a name and an address that nobody has yet."""
        match asked:
            case {"requester": {"email": str(email)} as told} if re.fullmatch(r"[^\s@]+@[^\s@]+", email):
                for user in self.users.values():
                    if user["email"].lower() == email.lower():
                        return int(user["id"])
                if not isinstance(told.get("name"), str) or not told["name"].strip():
                    problem = "Requester: Name: is too short (minimum is 1 characters)"
                    raise RefusalError(invalid("requester", problem, error="TooShort"))
                return int(self._add_user(told["name"], email, None, "end-user")["id"])
            case {"requester": _}:
                raise RefusalError(
                    invalid("requester", "Requester: Email: is not properly formatted", error="InvalidValue")
                )
            case _:
                return self._known_user("requester_id", asked.get("requester_id", default))

    def _add_user(self, name: str, email: str, number: int | None, role: str) -> Record:
        number = next(self._ids) if number is None else number
        now = _stamp(self.world.clock())
        self.users[number] = {
            "id": number,
            "url": f"https://{SUBDOMAIN}.zendesk.com/api/v2/users/{number}.json",
            "name": name,
            "email": email,
            "role": role,
            "active": True,
            "verified": True,
            "suspended": False,
            "created_at": now,
            "updated_at": now,
        }
        return self.users[number]

    def _followed(self, asked: Record) -> Ticket | None:
        """The closed ticket that a new one follows up; one that is not closed is passed over, as the vendor does."""
        source = asked.get("via_followup_source_id")
        if source is not None and (isinstance(source, bool) or not isinstance(source, int)):
            fail_attribute("via_followup_source_id", "must be an integer")
        found = self.tickets.get(source) if source is not None else None
        return None if found is None or found.is_deleted or found.data["status"] != "closed" else found

    def _tags(self, told: Sequence[str]) -> list[str]:
        """Tags as the vendor keeps them: lower case, no spaces, each once."""
        low = [each.strip().lower() for each in told]
        if self.habits.splits_tags:
            return list(dict.fromkeys(tag for each in low for tag in each.split()))
        return list(dict.fromkeys(re.sub(r"\s+", "_", each) for each in low if each))

    # ------------------------------------------------------------ what the vendor checks

    def _check(self, asked: Record) -> None:
        for name, choices in _CHOICES.items():
            value = asked.get(name)
            if name in asked and value not in choices and (value is not None or name == "status"):
                raise RefusalError(
                    invalid(name, f"{name.title()}: {value} is not valid", error="InvalidValue")
                )
        if asked.get("tags") is not None and not _is_texts(asked["tags"]):
            fail_attribute("tags", "must be an array of strings")
        if asked.get("external_id") is not None and not isinstance(asked["external_id"], str | int):
            fail_attribute("external_id", "must be a string")
        match asked.get("custom_fields", []):
            case list(fields) if all(
                isinstance(each, dict) and isinstance(each.get("id"), int) for each in fields
            ):
                pass
            case _:
                fail_attribute("custom_fields", "must be an array of objects with an id")
        if asked.get("assignee_id") is not None:
            number = self._known_user("assignee_id", asked["assignee_id"])
            if self.users[number]["role"] == "end-user":
                raise RefusalError(invalid("assignee", "Assignee: is not an agent", error="InvalidValue"))

    def _known_user(self, name: str, number: Any) -> int:
        if not isinstance(number, int) or number not in self.users:
            word = name.removesuffix("_id")
            raise RefusalError(invalid(word, f"{word.title()}: is not a user", error="InvalidValue"))
        return number

    def _check_open(self, ticket: Ticket) -> None:
        if ticket.data["status"] == "closed":
            raise RefusalError(_CLOSED)

    def _check_solve(self, ticket: Ticket, changes: Mapping[str, Any]) -> None:
        if changes.get("status") != "solved":
            return
        missing = [
            each.title
            for each in self.fields.values()
            if each.is_required and not changes.get(str(each.id), ticket.data["custom_fields"].get(each.id))
        ]
        if self.habits.needs_assignee_to_solve and not changes.get("assignee_id", ticket.data["assignee_id"]):
            missing.insert(0, "Assignee")
        if missing:
            told = [f"{each}: is required when solving a ticket" for each in missing]
            raise RefusalError(invalid("base", *told))

    def _check_stamp(self, ticket: Ticket, asked: Record) -> None:
        """A safe update goes through only with the ticket's own stamp. Stamps are whole seconds."""
        if "safe_update" not in asked or asked["safe_update"] is None:
            return
        if not self.habits.false_is_safe and asked["safe_update"] in (False, "false"):
            return
        stamp = asked.get("updated_stamp")
        if not isinstance(stamp, str):
            fail_attribute("updated_stamp", "must be a date-time")
        try:
            is_same = _moment(stamp) == _moment(ticket.data["updated_at"])
        except ValueError:
            fail_attribute("updated_stamp", "must be a date-time")
        if not is_same:
            raise RefusalError(_CONFLICT)

    def _check_limit(self, ticket: Ticket) -> None:
        now = self.world.clock()
        ticket.updates = [each for each in ticket.updates if now - each < UPDATES_WINDOW]
        if len(ticket.updates) >= UPDATES_MOST:
            wait = int((ticket.updates[0] + UPDATES_WINDOW - now).total_seconds()) + 1
            raise RefusalError(Answer(429, _LIMITED, {"Retry-After": str(wait)}))
        ticket.updates.append(now)

    # ------------------------------------------------------------ reading

    def _get_me(self, call: Call) -> Answer:
        if "authorization" in call.headers:
            return Answer(200, {"user": dict(self.users[AGENT_ID])})
        nobody = {"id": None, "url": None, "name": "Anonymous user", "email": "invalid@example.com"}
        return Answer(200, {"user": {**nobody, "role": "end-user", "verified": False, "active": False}})

    def _get_ticket(self, call: Call) -> Answer:
        return Answer(200, {"ticket": self._shown(self._ticket(call))})

    def _get_tags(self, call: Call) -> Answer:
        return Answer(200, {"tags": list(self._ticket(call).data["tags"])})

    def _list_tickets(self, call: Call) -> Answer:
        """All tickets, or those with an external id. Archived ones are not in it."""
        wanted = dict(call.query_pairs).get("external_id")
        found = [
            self._shown(each)
            for each in self.tickets.values()
            if not (each.is_archived or each.is_deleted)
            and (wanted is None or each.data["external_id"] == wanted)
        ]
        return Answer(200, _page_of(call, "tickets", found))

    def _list_comments(self, call: Call) -> Answer:
        return Answer(200, _page_of(call, "comments", _sorted(call, self._ticket(call).comments)))

    def _list_audits(self, call: Call) -> Answer:
        return Answer(200, _page_of(call, "audits", _sorted(call, self._ticket(call).audits)))

    def _search(self, call: Call) -> Answer:
        """What the index has, which is behind."""
        asked = dict(call.query_pairs)
        if not asked.get("query", "").strip():
            fail(422, "invalid", "Invalid search: query is missing")
        tests = [self._term(*found.groups("")) for found in _TERM.finditer(asked["query"])]
        since = self.world.clock() - timedelta(seconds=self.habits.search_delay_s)
        found = []
        for ticket in self.tickets.values():
            state = next((each for at, each in reversed(ticket.seen) if at <= since), None)
            if state is not None and not ticket.is_deleted and all(test(state) for test in tests):
                found.append({**state, "result_type": "ticket"})
        order, direction = asked.get("sort_by", "created_at"), asked.get("sort_order", "desc")
        if order not in ("created_at", "updated_at", "priority", "status", "ticket_type"):
            fail_attribute("sort_by", "must be a field to sort by")
        name = "type" if order == "ticket_type" else order
        found.sort(key=lambda each: (each[name] or "", each["id"]), reverse=direction == "desc")
        page, size = _offset(asked)
        if page * size > SEARCH_MOST:
            fail(
                422,
                "invalid",
                "Invalid search: Requested response size was greater than Search Response Limits",
            )
        return Answer(200, {**_by_offset(call, "results", found, page, size), "facets": None})

    def _term(self, key: str, sign: str, value: str, quoted: str, word: str) -> Callable[[Record], bool]:
        """One word of a query as a test. A property that is not practised here ends the call rather than be passed over."""
        value = value.strip('"')
        if not key:
            text = (quoted or word).lower()
            return lambda each: text in f"{each['subject'] or ''} {each['description'] or ''}".lower()
        if key == "status" and sign == "<" and value in _STATUSES:
            return lambda each: _STATUSES.index(each["status"]) < _STATUSES.index(value)
        if sign != ":":
            fail(422, "invalid", f"Invalid search: {key}{sign}{value}")
        match key:
            case "type":
                return lambda each: value == "ticket"  # noqa: ARG005 (every test takes the ticket)
            case "external_id" | "status":
                return lambda each: each[key] == value
            case "tags":
                return lambda each: value.lower() in each["tags"]
            case "requester":
                return lambda each: (
                    value
                    in (
                        str(each["requester_id"]),
                        self.users[each["requester_id"]]["email"],
                    )
                )
            case _ if key.startswith("custom_field_"):
                number = key.removeprefix("custom_field_")
                return lambda each: any(
                    str(one["id"]) == number and str(one["value"]) == value for one in each["custom_fields"]
                )
            case _:
                fail(422, "invalid", f"Invalid search: {key}")

    def _ticket(self, call: Call) -> Ticket:
        if not call.ids["id"].isdigit():
            fail_attribute("id", "must be an integer")
        ticket = self.tickets.get(int(call.ids["id"]))
        if ticket is None or ticket.is_deleted:
            fail(404, "RecordNotFound", "Not found")
        return ticket

    def _shown(self, ticket: Ticket) -> Record:
        """The ticket as answers have it: a copy, every custom field listed, follow-ups only once it is closed."""
        data = deepcopy(ticket.data)
        fields = [{"id": each, "value": data["custom_fields"].get(each)} for each in self.fields]
        follows = data["followup_ids"] if data["status"] == "closed" else []
        return {**data, "custom_fields": fields, "fields": deepcopy(fields), "followup_ids": follows}

    # ------------------------------------------------------------ placeholders and webhooks

    def _filled(self, ticket: Ticket, text: str, author: int) -> str:
        """Placeholders filled in, in what an agent writes. Unknown ones vanish; a backslash or code marks keep them."""
        if self.users[author]["role"] == "end-user":
            return text
        return self._render(ticket, text, author)

    def _render(self, ticket: Ticket, text: str, updater: int) -> str:
        def fill(found: re.Match[str]) -> str:
            escape, name = found.groups()
            if name is None:
                return found[0]
            return found[0].lstrip("\\") if escape else self._placeholder(ticket, name, updater)

        return _PLACEHOLDER.sub(fill, text)

    def _placeholder(self, ticket: Ticket, name: str, updater: int) -> str:
        data, requester = ticket.data, self.users[ticket.data["requester_id"]]
        user = self.users.get(updater, {"id": updater, "name": "", "email": ""})
        values = {
            "ticket.id": data["id"],
            "ticket.external_id": data["external_id"],
            "ticket.title": data["subject"],
            "ticket.description": data["description"],
            "ticket.status": data["status"].title(),
            "ticket.tags": " ".join(data["tags"]),
            "ticket.created_at_with_timestamp": data["created_at"],
            "ticket.updated_at_with_timestamp": data["updated_at"],
            "ticket.latest_comment": ticket.comments[-1]["body"] if ticket.comments else "",
            **{f"ticket.requester.{each}": requester[each] for each in ("id", "name", "email")},
            **{f"current_user.{each}": user[each] for each in ("id", "name", "email")},
            **{f"ticket.ticket_field_{each}": data["custom_fields"].get(each) for each in self.fields},
        }
        value = values.get(name)
        return "" if value is None else str(value)

    def _call_event(self, ticket: Ticket, updater: int) -> Event:
        """A trigger's call: our own template, filled in at this moment."""

        def filled(value: Any) -> Any:
            match value:
                case str():
                    return self._render(ticket, value, updater)
                case dict():
                    return {name: filled(each) for name, each in value.items()}
                case list():
                    return [filled(each) for each in value]
                case _:
                    return value

        return Event(self.mint("01").upper(), CONDITIONAL, filled(self.body))

    def _differences(self, ticket: Ticket, before: Record | None) -> list[tuple[str, Record]]:
        """What changed since `before`, as the names and the own parts of the vendor's events."""
        was, now = before or {}, _told_of(ticket)
        told: list[tuple[str, Record]] = []
        part: Record
        for said in ticket.comments[was["comments"] :]:
            writer = self.users[said["author_id"]]
            author = {
                "id": str(writer["id"]),
                "is_staff": writer["role"] != "end-user",
                "name": writer["name"],
            }
            part = {
                "id": str(said["id"]),
                "body": said["body"],
                "is_public": said["public"],
                "author": author,
            }
            told.append(("comment_added", {"comment": part}))
        if was["tags"] != now["tags"]:
            added = [each for each in now["tags"] if each not in was["tags"]]
            removed = [each for each in was["tags"] if each not in now["tags"]]
            told.append(("tags_changed", {"tags_added": added, "tags_removed": removed}))
        if was["status"] != now["status"]:
            part = {"current": now["status"].upper(), "previous": was["status"].upper()}
            told.append(("status_changed", part))
        for number in self.fields:
            old, new = was["fields"].get(number), now["fields"].get(number)
            if old != new:
                part = {"field": {"id": str(number)}, "current": new, "previous": old}
                told.append(("custom_field_changed", part))
        return told

    def _tell(self, ticket: Ticket, updater: int, told: Iterable[tuple[str, Record]]) -> None:
        """The vendor's events of one action."""
        sequence = self.mint(length=32).upper()
        for position, (kind, part) in enumerate(told, 1):
            meta = {"sequence": {"id": sequence, "position": position}}
            self._tell_event(ticket, self._envelope(ticket, updater, kind, {**part, "meta": meta}))

    def _envelope(self, ticket: Ticket, updater: int, kind: str, part: Record) -> Event:
        data, key = ticket.data, self.mint(length=32).lower()
        ids = ("id", "assignee_id", "group_id", "organization_id", "requester_id", "submitter_id")
        same = ("created_at", "updated_at", "description", "external_id", "is_public", "priority", "subject")
        detail: Record = {name: None if data[name] is None else str(data[name]) for name in ids}
        detail |= {name: data[name] for name in (*same, "type")}
        detail |= {"actor_id": str(updater), "status": data["status"].upper(), "tags": list(data["tags"])}
        return Event(
            key,
            EVENT_PREFIX + kind,
            {
                "type": EVENT_PREFIX + kind,
                "account_id": ACCOUNT_ID,
                "id": key,
                "time": _stamp(self.world.clock()),
                "zendesk_event_version": "2022-11-06",
                "subject": f"zen:ticket:{ticket.id}",
                "detail": {**detail, "via": {"channel": data["via"]["channel"]}},
                "event": part,
            },
        )

    def _tell_event(self, ticket: Ticket, event: Event) -> None:
        self._told.append((ticket.id, event))
        # A webhook is either called by triggers or subscribed to events, never both.
        if self.habits.is_event_webhook is (event.topic != CONDITIONAL):
            self.emit(event)

    def event_for(self, topic: str, object_id: str) -> Event:
        """The newest event of that kind about the ticket; a trigger's call is made up where there was none."""
        for number, event in reversed(self._told):
            if str(number) == object_id and event.topic == topic:
                return event
        if topic == CONDITIONAL and object_id.isdigit() and (ticket := self.tickets.get(int(object_id))):
            event = self._call_event(ticket, PERSON_ID)
            self._told.append((ticket.id, event))
            return event
        raise NoSuchObjectError(f"zendesk sends no {topic!r} about {object_id!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        fresh = _stamp(self.world.clock()), self.mint("01").upper()
        first = self._signed.setdefault(
            event.id, (fresh[0], event.id) if event.topic == CONDITIONAL else fresh
        )
        timestamp = fresh[0] if self.habits.signs_retries_anew else first[0]
        return Delivery(
            {
                "Content-Type": "application/json",
                "User-Agent": "Zendesk Webhook",
                "X-Zendesk-Account-Id": str(ACCOUNT_ID),
                "X-Zendesk-Webhook-Id": WEBHOOK_ID,
                "X-Zendesk-Webhook-Invocation-Id": first[1] if self.habits.keeps_invocation_id else fresh[1],
                "X-Zendesk-Webhook-Signature": signature_of(secret, timestamp, event.payload),
                "X-Zendesk-Webhook-Signature-Timestamp": timestamp,
            },
            event.payload,
        )


# ---------------------------------------------------------------- errors

_CLOSED: Final = invalid("status", "Status: closed prevents ticket update")
_CONFLICT: Final = Answer(
    409,
    {
        "error": "UpdateConflict",
        "description": "Safe Update prevented the update due to outdated ticket data.",
    },
)
_FORBIDDEN: Final = Answer(
    403, {"error": {"title": "Forbidden", "message": "You do not have access to this page."}}
)


# ---------------------------------------------------------------- requests read


def _asked(call: Call) -> Record:
    """The `ticket` of a JSON request."""
    if call.content_type == "application/json" and call.json is None:
        raise RefusalError(
            Answer(422, {"error": "Unprocessable Entity", "message": "Server could not parse JSON"})
        )
    match call.json if call.content_type == "application/json" else None:
        case {"ticket": dict(asked)}:
            return asked
        case _:
            fail_attribute("ticket", "must be an object")


def _metadata(asked: Record) -> Record:
    metadata = asked.get("metadata", {})
    if not isinstance(metadata, dict):
        fail_attribute("metadata", "must be an object")
    return metadata


def _comment_of(asked: Record) -> Record | None:
    """The comment as asked for, None where there is none or nothing is in it."""
    comment = asked.get("comment")
    if comment is None:
        return None
    if not isinstance(comment, dict):
        fail_attribute("comment", "must be an object")
    if not isinstance(comment.get("public", True), bool):
        fail_attribute("comment.public", "must be a boolean")
    known = {name: comment[name] for name in ("body", "html_body", "public", "author_id") if name in comment}
    for name in ("body", "html_body"):
        if not isinstance(known.get(name, ""), str):
            fail_attribute(f"comment.{name}", "must be a string")
    if "html_body" in known and not known["html_body"].strip():
        del known["html_body"]
    return known if known.get("html_body") or known.get("body", "").strip() else None


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _as_list(fields: Mapping[Any, Any]) -> list[Record]:
    """Custom fields of a seed, by number, as the vendor's list."""
    return [{"id": int(number), "value": value} for number, value in fields.items()]


def _with(tags: Iterable[str], added: Iterable[str], removed: Iterable[str]) -> list[str]:
    gone = set(removed)
    return [each for each in dict.fromkeys((*tags, *added)) if each not in gone]


def _told_of(ticket: Ticket) -> Record:
    """What the vendor's events tell of, as it is now."""
    return {
        "status": ticket.data["status"],
        "tags": list(ticket.data["tags"]),
        "fields": dict(ticket.data["custom_fields"]),
        "comments": len(ticket.comments),
    }


def _cut(text: str) -> str:
    return text.encode()[:BODY_MOST].decode("utf-8", "ignore")


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime:
    """Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).replace(microsecond=0)


def _via(channel: str, title: str = "") -> Record:
    source: Record = {
        "from": {"title": title} if title else {},
        "to": {},
        "rel": "trigger" if title else None,
    }
    return {"channel": channel, "source": source}


# ---------------------------------------------------------------- pages


def _sorted(call: Call, items: Sequence[Record]) -> list[Record]:
    """Oldest first, or the other way round where asked for."""
    asked = dict(call.query_pairs)
    order, direction = asked.get("sort", "created_at"), asked.get("sort_order", "asc")
    if order not in ("created_at", "-created_at"):
        fail_attribute("sort", "must be created_at or -created_at")
    if direction not in ("asc", "desc"):
        fail_attribute("sort_order", "must be asc or desc")
    copies = deepcopy(list(items))
    return copies[::-1] if order == "-created_at" or direction == "desc" else copies


def _page_of(call: Call, name: str, items: Sequence[Record]) -> Record:
    """A page by cursor where `page[size]` or `page[after]` is sent, else by number."""
    asked = dict(call.query_pairs)
    if not asked.keys() & {"page[size]", "page[after]"}:
        return _by_offset(call, name, items, *_offset(asked))
    size = asked.get("page[size]", str(PAGE_SIZE))
    if not size.isdigit() or not 1 <= int(size) <= PAGE_SIZE:
        fail_attribute("page[size]", f"must be between 1 and {PAGE_SIZE}")
    start = 0
    if after := asked.get("page[after]"):
        ids = [_cursor(each["id"]) for each in items]
        if after not in ids:
            fail_attribute("page[after]", "is not a cursor")
        start = ids.index(after) + 1
    page = items[start : start + int(size)]
    has_more = len(items) > start + int(size)
    last = _cursor(page[-1]["id"]) if page else None
    rest = {key: value for key, value in asked.items() if key != "page[after]"}
    following = f"{_base(call)}{call.path}?{urlencode({**rest, 'page[after]': last})}" if has_more else None
    meta = {"has_more": has_more, "after_cursor": last, "before_cursor": None}
    return {name: list(page), "meta": meta, "links": {"next": following, "prev": None}}


def _offset(asked: Mapping[str, str]) -> tuple[int, int]:
    """Page and its size; a size over the most is brought down to it."""
    for name in ("page", "per_page"):
        if not asked.get(name, "1").isdigit() or asked.get(name) == "0":
            fail_attribute(name, "must be an integer")
    return int(asked.get("page", "1")), min(int(asked.get("per_page", str(PAGE_SIZE))), PAGE_SIZE)


def _by_offset(call: Call, name: str, items: Sequence[Record], page: int, size: int) -> Record:
    def address(number: int) -> str:
        asked = {**dict(call.query_pairs), "page": str(number)}
        return f"{_base(call)}{call.path}?{urlencode(asked)}"

    return {
        name: list(items[(page - 1) * size : page * size]),
        "count": len(items),
        "next_page": address(page + 1) if len(items) > page * size else None,
        "previous_page": address(page - 1) if page > 1 else None,
    }


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([number]).encode()).decode().rstrip("=")


def _path(ticket: Ticket) -> str:
    return f"/api/v2/tickets/{ticket.id}.json"


def _base(call: Call) -> str:
    """Where the caller reached us, so that it can follow a page's address."""
    host = call.headers.get("host", "")
    return f"http://{host}/zendesk" if host else f"https://{SUBDOMAIN}.zendesk.com"
