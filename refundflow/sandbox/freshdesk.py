"""Practice Freshdesk: tickets, replies, notes and search under `/freshdesk/api/v2/`, the agent's profile, rule webhooks.

API v2. The vendor publishes no machine-readable description; shapes come from the project's own schemas and from public
copies of https://developers.freshdesk.com/api and of https://support.freshdesk.com article 132589 (webhooks in rules), read
2026-11-25. Where they are silent or disagree, `Habits` names the practised reading. Messages of refusals are this file's
own; callers rely on codes.

Strict about: Basic with the API key as user; JSON bodies (415; multipart is not practised); unknown, missing, wrongly typed
and wrong fields; one of email, requester_id and unique_external_id, all three naming the requester and never the ticket
(phone and social ids are not practised); custom fields that exist; fields required on close; deleted and spam tickets;
archived ones; the agent's ticket scope; pages, `include` and filters of lists; quotes, length, pages and value types of a
search. Nothing is idempotent: what is sent twice is there twice, and a reply is mailed twice. `tags` replaces the list,
`custom_fields` only what is sent. A closed ticket may be changed, answered and reopened.

Search knows a change only after `Habits.search_delay_s`; seeded tickets it knows at once. It picks by what it knew, and
shows what is.

`seed({"agent"?: {"ticket_scope"?: 1 global, 2 group, 3 restricted}, "statuses"?: {"8": "At the warehouse"}, "fields"?:
[{"name": "cf_…", "type"?: "custom_text" | "custom_number" | "custom_checkbox", "required_for_closure"?}], "support_emails"?:
[…], "contacts"?: [{"email"?, "unique_external_id"?, "name"?}], "rules"?: [{"name", …}] (see `Rule`; replaces all),
"tickets"?: [{what the API takes, all but the requester optional, "created_at"?, "updated_at"?, "is_spam"?, "is_deleted"?,
"is_archived"?, "conversations"?: [{"body", "is_incoming"?, "is_private"?}]}], "habits"?: {…}})` returns `{"contacts":
[{"id", …}], "tickets": [{"id", "requester_id"}], "rules": [name]}`. Rules do not run on seeds.

`settle` takes `{"arrives": {ticket}}` (a customer writes), `{"ticket": id, "says": text}` (the requester answers; reopens),
`{"ticket": id, "change": {…}}` (a person at the desk sets fields, as in an update) or `{"ticket": id, "is_spam" |
"is_deleted" | "is_archived": bool}`.

Webhooks are an action of a rule made by hand: there is no subscription API, no signature, no time stamp and no delivery id.
The secret is in the header `WEBHOOK_HEADER`, or is Basic's user and password. Topic: the event constant typed into the rule.
The body is `TEMPLATE` with its placeholders filled in as bare text, so a quote in a value breaks the JSON. A fresh desk has
two rules, on `CANCEL_TAG`.

Book: `create_ticket`, `update_ticket`, `send_reply` (mailed at once), `add_note`, `create_contact` (made silently),
`apply_rule` (what a rule itself changed). `update_ticket` has what was `sent` and the names `changed`. What people do is not
in it. `reference` is cf_rf_op or else cf_rf_case of a ticket; of a message the word after "Ref".
"""

from __future__ import annotations

import base64
import binascii
import html
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import urlencode

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

API_KEY: Final = "practice-freshdesk-key"
AGENT_ID: Final = 432
AGENT_EMAIL: Final = "refundflow@practice.example"
GROUP_ID: Final = 4
SUPPORT_EMAIL: Final = "support@practice.example"
CANCEL_TAG: Final = "cancellation_request"
CANCEL_EVENT: Final = "cancellation_requested"
WEBHOOK_HEADER: Final = "X-Refundflow-Token"
TEMPLATE: Final = json.dumps(
    {
        "source": "freshdesk",
        "event": "{{event}}",
        "ticket_id": "{{ticket.id}}",
        "ticket_status": "{{ticket.status}}",
        "ticket_tags": "{{ticket.tags}}",
        "requester_email": "{{ticket.requester.email}}",
        "order_ref": "{{ticket.cf_order_ref}}",
        "updated_at": "{{ticket.updated_at}}",
    }
)

PAGE_SIZE: Final = 30
PAGE_SIZE_MOST: Final = 100
LIST_PAGES_MOST: Final = 300
SEARCH_PAGES_MOST: Final = 10
QUERY_MOST: Final = 512
EMBEDDED_MOST: Final = 10
TEXT_MOST: Final = 255
EMAILS_MOST: Final = 50
CASCADE_MOST: Final = 10

_STATUSES: Final = {
    2: "Open",
    3: "Pending",
    4: "Resolved",
    5: "Closed",
    6: "Waiting on Customer",
    7: "Waiting on Third Party",
}
_PRIORITIES: Final = (1, 2, 3, 4)
_SOURCES: Final = (1, 2, 3, 7, 9, 10)
_TYPES: Final = ("Question", "Incident", "Problem", "Feature Request", "Refund")
_FIELD_TYPES: Final = ("custom_text", "custom_number", "custom_checkbox")
_OWN_FIELDS: Final = ("cf_order_ref", "cf_rf_case", "cf_rf_state", "cf_rf_op")
_REQUESTERS: Final = ("requester_id", "email", "unique_external_id")
_UPDATED: Final = (
    *("subject", "description", "status", "priority", "source", "type", "tags"),
    *("custom_fields", "responder_id", "group_id"),
)
_CREATED: Final = (*_UPDATED, *_REQUESTERS, "name", "cc_emails")
_REPLIED: Final = ("body", "from_email", "user_id", "cc_emails", "bcc_emails")
_NOTED: Final = ("body", "private", "incoming", "notify_emails", "user_id")
_LISTED: Final = (
    *("filter", *_REQUESTERS, "updated_since", "order_by", "order_type"),
    *("include", "page", "per_page"),
)
_STATS: Final = ("agent_responded_at", "requester_responded_at", "first_responded_at", "status_updated_at")
_FLAGS: Final = frozenset(("is_spam", "is_deleted", "is_archived"))
_SEARCHED: Final[dict[str, type]] = {
    **dict.fromkeys(("status", "priority", "agent_id", "group_id"), int),
    **dict.fromkeys(("tag", "type", "created_at", "updated_at"), str),
}
_PLAIN_CODES: Final = {
    **dict.fromkeys(("access_denied", "require_feature", "account_suspended"), 403),
    "inconsistent_state": 409,
    "invalid_json": 400,
}
_EMAIL: Final = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\".]+(\.[^\s@<>,;\".]+)+")
_REFERENCE: Final = re.compile(r"\bRef:?\s+([\w.:-]*\w)")
_TOKEN: Final = re.compile(r"\s*(?:([()])|(AND|OR)\b|(\w+):([<>]?)('[^']*'|[\w.:-]+))", re.ASCII)
_PLACEHOLDER: Final = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
_MOMENT: Final = "%Y-%m-%dT%H:%M:%SZ"

Wrong = tuple[str, str]


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or what its articles disagree about.

    `search_delay_s`: how long the search index lags ("a few minutes"). `list_delay_s`, `conversations_delay_s`: the
    same for new tickets in the list and new messages in a ticket. `list_days`: how old a listed ticket may be without
    `updated_since`. `unknown_requester_refused`: a list by an unknown requester is a 400, else empty.
    `source_required`: a ticket needs a source. `trashed_status`: what changing a deleted or spam ticket answers, 405 or
    409. `keeps_comments`: whether HTML comments survive in bodies. `messages_touch`: a reply or note moves the ticket's
    `updated_at`. `says_reopens`: an answer of the requester opens the ticket again. `calls_per_minute`: the account's
    limit as the headers tell it; `limit_enforced` refuses beyond it. `webhook_auth`: header or basic (a secret without
    a colon is an API key, with the password X). `rules_cascade`: what a rule changes sets off rules again, ten times at
    most.
    """

    search_delay_s: float = 180.0
    list_delay_s: float = 0.0
    conversations_delay_s: float = 0.0
    list_days: int = 30
    unknown_requester_refused: bool = True
    source_required: bool = False
    trashed_status: int = 405
    keeps_comments: bool = False
    messages_touch: bool = True
    says_reopens: bool = True
    calls_per_minute: int = 700
    limit_enforced: bool = False
    webhook_auth: str = "header"
    rules_cascade: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """An automation rule. `on`: creation or update. `tag`: only tickets that have it. `when`: an update rule runs when the tag
    was just added (`tag_added`) or at `any` change. `ignores_api`: an update rule leaves out what the API's agent did;
    a creation rule cannot. `event`: posts the webhook with this constant and `body`. `add_tags`, `status`, `note`: what
    the rule itself does."""

    name: str
    on: str = "update"
    tag: str = ""
    when: str = "tag_added"
    ignores_api: bool = True
    event: str = ""
    body: str = TEMPLATE
    add_tags: Sequence[str] = ()
    status: int = 0
    note: str = ""

    def __post_init__(self) -> None:
        if self.on not in ("creation", "update") or self.when not in ("tag_added", "any"):
            raise ValueError(
                f"a rule runs on creation or update, when tag_added or any: {self.name!r} does not"
            )


@dataclass(slots=True)
class Ticket:
    """`fields`: as shown. `conversations`: each with its moment. `known`: what the search index was told, and when."""

    fields: Record
    stats: Record = field(default_factory=lambda: dict.fromkeys(_STATS))
    conversations: list[tuple[float, Record]] = field(default_factory=list)
    known: list[tuple[float, Record]] = field(default_factory=list)
    is_archived: bool = False

    @property
    def id(self) -> int:
        return int(self.fields["id"])

    @property
    def is_trashed(self) -> bool:
        return bool(self.fields["spam"] or self.fields["deleted"])


RULES: Final = (
    Rule("Cancellation asked for in a new ticket", "creation", CANCEL_TAG, event=CANCEL_EVENT),
    Rule("Cancellation asked for later", "update", CANCEL_TAG, event=CANCEL_EVENT),
)


def fail(status: int, code: str, message: str) -> NoReturn:
    """Ends the call with one of the vendor's plain errors."""
    raise RefusalError(Answer(status, {"code": code, "message": message}))


def invalid(*errors: Record) -> NoReturn:
    """Ends the call with a failed validation, every wrong field named."""
    raise RefusalError(_validation(errors))


class Freshdesk(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "freshdesk"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        ticket = "/api/v2/tickets/{id}"
        self._routes = (
            Route("GET", "/api/v2/agents/me", "get_agent", self._get_agent),
            Route("GET", "/api/v2/ticket_fields", "list_ticket_fields", self._list_fields),
            Route("GET", "/api/v2/search/tickets", "search_tickets", self._search),
            Route("GET", "/api/v2/tickets", "list_tickets", self._list_tickets),
            Route("POST", "/api/v2/tickets", "create_ticket", self._create_ticket),
            Route("GET", ticket, "get_ticket", self._get_ticket),
            Route("PUT", ticket, "update_ticket", self._update_ticket),
            Route("GET", f"{ticket}/conversations", "list_conversations", self._list_conversations),
            Route("POST", f"{ticket}/reply", "create_reply", self._create_reply),
            Route("POST", f"{ticket}/notes", "create_note", self._create_note),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.statuses = dict(_STATUSES)
        self.fields: dict[str, Record] = {name: {"type": "custom_text"} for name in _OWN_FIELDS}
        self.support_emails = [SUPPORT_EMAIL]
        self.ticket_scope = 1
        self.rules: Sequence[Rule] = RULES
        self.contacts: dict[int, Record] = {}
        self.tickets: dict[int, Ticket] = {}
        self._minute, self._used = -1, 0
        # One row of numbers for everything, so that an id of one kind never passes for another.
        self._ids = itertools.count(random.randrange(10_000, 1_000_000))

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.ticket_scope = int(data.get("agent", {}).get("ticket_scope", self.ticket_scope))
            self.statuses |= {int(number): str(label) for number, label in data.get("statuses", {}).items()}
            for each in data.get("fields", ()):
                if each.get("type", "custom_text") not in _FIELD_TYPES:
                    raise ValueError(f"cannot seed freshdesk: no field type {each['type']!r}")
                self.fields[each["name"]] = {"type": "custom_text", **each}
            self.support_emails += data.get("support_emails", ())
            if "rules" in data:
                self.rules = tuple(Rule(**each) for each in data["rules"])
            contacts = [self._add_contact(each) for each in data.get("contacts", ())]
            tickets = [self._seed_ticket(each) for each in data.get("tickets", ())]
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed freshdesk: {wrong}") from wrong
        except RefusalError as refused:
            raise ValueError(f"cannot seed freshdesk: {refused.answer.body}") from refused
        return {
            "contacts": [dict(each) for each in contacts],
            "tickets": [{"id": each.id, "requester_id": each.fields["requester_id"]} for each in tickets],
            "rules": [each.name for each in self.rules],
        }

    def settle(self, data: Record) -> Record:
        try:
            match data:
                case {"arrives": dict(asked)}:
                    ticket = self._make(asked)
                    self._run_rules(ticket, "creation", added=ticket.fields["tags"])
                case {"ticket": number, "says": str(text)}:
                    ticket = self._known(number)
                    self._say(ticket, text)
                case {"ticket": number, "change": dict(change)}:
                    ticket = self._known(number)
                    self._check(change, _UPDATED)
                    self._change(ticket, change)
                case {"ticket": number, **flags} if flags and set(flags) <= _FLAGS:
                    ticket = self._known(number)
                    self._flag(ticket, flags)
                    self._touch(ticket)
                case _:
                    raise ValueError("freshdesk settles arrives, or a ticket with says, change or is_…")
        except RefusalError as refused:
            raise ValueError(f"the desk does not take that: {refused.answer.body}") from refused
        return {"ticket": ticket.id, "status": ticket.fields["status"], "tags": list(ticket.fields["tags"])}

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """The API key as Basic's user; any password. An agent's e-mail with a password opens nothing here."""
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        try:
            key, colon, _ = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            key = colon = ""
        is_known = scheme.lower() == "basic" and bool(colon) and key == API_KEY
        return None if is_known else self.unauthorised(call)

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(
            401, {"code": "invalid_credentials", "message": "Log in first: the API key is not known."}
        )

    def refuse(self, call: Call) -> Answer:
        """The fault's `code` is one of the vendor's: a plain one, or a validation code for the first field sent."""
        code = (call.fault.code if call.fault is not None else "") or "access_denied"
        if code in _PLAIN_CODES:
            return Answer(_PLAIN_CODES[code], {"code": code, "message": f"The practice desk says {code}."})
        if code == "not_found":
            return Answer(404)
        sent = call.json
        name = next(iter(sent), "request") if isinstance(sent, dict) else "request"
        return _validation([_error(name, "It is not taken", code)], 409 if code == "duplicate_value" else 400)

    def not_found(self, call: Call) -> Answer:
        """An empty 404, or a 405 where the path is there for other methods."""
        allowed = [
            each.method for each in self._routes if each.match(replace(call, method=each.method)) is not None
        ]
        return _not_allowed(call.method, allowed) if allowed else Answer(404)

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        if status == 429:
            return {"message": "You have exceeded the limit of requests per minute"}
        return {"code": "internal_error", "message": "Something went wrong here."}

    def begin(self, call: Call) -> Answer | None:
        """Counts the call, wrong ones too; refuses it where the limit is enforced."""
        second = int(self.world.clock().timestamp())
        if second // 60 != self._minute:
            self._minute, self._used = second // 60, 0
        self._used += _credits(call)
        if not self.habits.limit_enforced or self._used <= self.habits.calls_per_minute:
            return None
        refusal = Answer(429, self.failure(call, 429), {"Retry-After": str(60 - second % 60)})
        return self.finish(call, refusal)

    def finish(self, call: Call, answer: Answer) -> Answer:
        """Every answer tells how much of the account's limit is left; a 429 also how long to wait."""
        limits = {
            "X-RateLimit-Total": str(self.habits.calls_per_minute),
            "X-RateLimit-Remaining": str(max(0, self.habits.calls_per_minute - self._used)),
            "X-RateLimit-Used-CurrentRequest": str(_credits(call)),
        }
        if answer.status == 429 and "retry-after" not in {name.lower() for name in answer.headers}:
            limits["Retry-After"] = "30"
        return replace(answer, headers={**limits, **answer.headers})

    # ------------------------------------------------------------ the desk itself

    def _get_agent(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        since = "2026-01-05T09:00:00Z"
        return Answer(
            200,
            {
                "id": AGENT_ID,
                "available": True,
                "occasional": False,
                "signature": None,
                "ticket_scope": self.ticket_scope,
                "type": "support_agent",
                "group_ids": [GROUP_ID],
                "role_ids": [1],
                "skill_ids": [],
                "available_since": None,
                "created_at": since,
                "updated_at": since,
                "contact": {
                    "active": True,
                    "email": AGENT_EMAIL,
                    "name": "Refundflow",
                    "job_title": None,
                    "language": "en",
                    "last_login_at": None,
                    "mobile": None,
                    "phone": None,
                    "time_zone": "UTC",
                    "created_at": since,
                    "updated_at": since,
                },
            },
        )

    def _list_fields(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        """The fields that matter here: the statuses with their names, and the account's own fields."""
        choices = {str(number): [label, label] for number, label in self.statuses.items()}
        shown: list[Record] = [
            {"id": 1, "name": "status", "type": "default_status", "default": True, "choices": choices}
        ]
        for number, (name, each) in enumerate(self.fields.items(), start=2):
            is_required = bool(each.get("required_for_closure"))
            label = name.removeprefix("cf_")
            shown.append(
                {"id": number, "name": name, "label": label, "type": each["type"], "default": False}
                | {"required_for_agents": False, "required_for_closure": is_required}
            )
        return Answer(200, shown)

    # ------------------------------------------------------------ writing

    def _create_ticket(self, call: Call) -> Answer:
        source = ("source",) if self.habits.source_required else ()
        required = ("subject", "description", "status", "priority", *source)
        ticket = self._make(_object(call), required, is_ours=True)
        self.book.write(
            "create_ticket",
            id=str(ticket.id),
            target={"ticket": ticket.id, "requester": ticket.fields["requester_id"]},
            reference=_reference(ticket.fields["custom_fields"]),
            **{name: ticket.fields[name] for name in ("subject", "status", "priority")},
            tags=list(ticket.fields["tags"]),
            custom_fields=dict(ticket.fields["custom_fields"]),
        )
        shown = _shown(ticket)
        self._run_rules(ticket, "creation", added=ticket.fields["tags"])
        return Answer(201, shown, {"Location": f"{_base(call)}/api/v2/tickets/{ticket.id}"})

    def _update_ticket(self, call: Call) -> Answer:
        ticket = self._writable(call)
        asked = _object(call)
        if not asked:
            invalid(_error("request", "Send at least one field", "missing_field"))
        self._check(asked, _UPDATED)
        self._need_for_closure(asked, ticket.fields["custom_fields"])
        return Answer(200, self._change(ticket, asked, is_ours=True))

    def _create_reply(self, call: Call) -> Answer:
        """A public message, mailed to the requester at once; it cannot be taken back or edited."""
        ticket = self._writable(call)
        asked = _object(call)
        self._check(asked, _REPLIED, ("body",))
        email = self.contacts[ticket.fields["requester_id"]].get("email")
        to = [email] if email else []
        sender = asked.get("from_email", self.support_emails[0])
        copies = {name: list(asked.get(name, ())) for name in ("cc_emails", "bcc_emails")}
        more = {"from_email": sender, "support_email": sender, "to_emails": to, **copies}
        reply = self._add(ticket, asked, source=0, is_private=False, more=more)
        self._note("send_reply", ticket, reply, to=to, **copies)
        now = reply["created_at"]
        ticket.stats["agent_responded_at"] = now
        ticket.stats["first_responded_at"] = ticket.stats["first_responded_at"] or now
        self._after_message(ticket, is_ours=True)
        names = (
            *("id", "body", "body_text", "user_id", "ticket_id", "from_email", "cc_emails", "bcc_emails"),
            *("attachments", "created_at", "updated_at"),
        )
        return Answer(201, {**{name: reply[name] for name in names}, "replied_to": to})

    def _create_note(self, call: Call) -> Answer:
        """A message for the staff, or with `private: false` for the requester too."""
        ticket = self._writable(call)
        asked = _object(call)
        self._check(asked, _NOTED, ("body",))
        is_private = asked.get("private", True)
        told = list(asked.get("notify_emails", ()))
        more = {"incoming": asked.get("incoming", False), "to_emails": told}
        note = self._add(ticket, asked, source=2, is_private=is_private, more=more)
        self._note("add_note", ticket, note, to=told, private=is_private)
        self._after_message(ticket, is_ours=True)
        names = (
            *("id", "body", "body_text", "incoming", "private", "user_id", "support_email", "ticket_id"),
            *("source", "attachments", "created_at", "updated_at"),
        )
        return Answer(201, {**{name: note[name] for name in names}, "notified_to": told})

    def _note(self, effect: str, ticket: Ticket, message: Record, **more: Any) -> None:
        found = _REFERENCE.search(message["body_text"])
        self.book.write(
            effect,
            id=str(message["id"]),
            target={"ticket": ticket.id},
            reference=found[1] if found else None,
            text=message["body_text"],
            **more,
        )

    def _add(self, ticket: Ticket, asked: Record, *, source: int, is_private: bool, more: Record) -> Record:
        now = self._now()
        body = _sanitised(asked["body"], keeps_comments=self.habits.keeps_comments)
        message: Record = {
            "id": next(self._ids),
            "body": body,
            "body_text": _text(body),
            "incoming": False,
            "private": is_private,
            "user_id": asked.get("user_id", AGENT_ID),
            "ticket_id": ticket.id,
            "source": source,
            "support_email": None,
            "from_email": None,
            "to_emails": [],
            "cc_emails": [],
            "bcc_emails": [],
            "attachments": [],
            "created_at": now,
            "updated_at": now,
            "last_edited_at": None,
            **more,
        }
        ticket.conversations.append((self._stamp(), message))
        return message

    def _after_message(self, ticket: Ticket, *, is_ours: bool = False) -> None:
        if self.habits.messages_touch:
            self._touch(ticket)
        self._run_rules(ticket, "update", is_ours=is_ours)

    def _make(self, asked: Record, required: Sequence[str] = (), *, is_ours: bool = False) -> Ticket:
        """A ticket from what the API takes; ends the call where something is missing or wrong. Runs no rules."""
        errors = self._errors(asked, _CREATED, required)
        if not any(name in asked for name in _REQUESTERS):
            errors.append(_error("email", f"Give one of {', '.join(_REQUESTERS)}", "missing_field"))
        if errors:
            invalid(*errors)
        self._need_for_closure(asked, {})
        requester = self._requester(asked, is_ours=is_ours)
        now = self._now()
        description = _sanitised(asked.get("description", ""), keeps_comments=self.habits.keeps_comments)
        fields: Record = {
            "id": next(self._ids),
            "subject": asked.get("subject"),
            "description": description,
            "description_text": _text(description),
            "status": asked.get("status", 2),
            "priority": asked.get("priority", 1),
            "source": asked.get("source", 2),
            "type": asked.get("type"),
            "requester_id": requester["id"],
            "responder_id": asked.get("responder_id"),
            "group_id": asked.get("group_id"),
            "company_id": None,
            "product_id": None,
            "email_config_id": None,
            "to_emails": None,
            "cc_emails": list(asked.get("cc_emails", ())),
            "tags": list(dict.fromkeys(asked.get("tags", ()))),
            "custom_fields": {**dict.fromkeys(self.fields), **asked.get("custom_fields", {})},
            "spam": False,
            "deleted": False,
            "created_at": now,
            "updated_at": now,
        }
        ticket = self.tickets[fields["id"]] = Ticket(fields)
        self._index(ticket)
        return ticket

    def _change(self, ticket: Ticket, asked: Record, *, is_ours: bool = False) -> Record:
        """Sets fields, then runs the update rules; returns the ticket as it was before they ran."""
        before = _shown(ticket)
        for name, value in asked.items():
            match name:
                case "tags":
                    ticket.fields["tags"] = list(dict.fromkeys(value))
                case "custom_fields":
                    ticket.fields["custom_fields"] = {**ticket.fields["custom_fields"], **value}
                case "description":
                    body = _sanitised(value, keeps_comments=self.habits.keeps_comments)
                    ticket.fields |= {"description": body, "description_text": _text(body)}
                case _:
                    ticket.fields[name] = value
        changed = {name: ticket.fields[name] for name in asked if ticket.fields[name] != before[name]}
        if "status" in changed:
            ticket.stats["status_updated_at"] = self._now()
        if changed:
            self._touch(ticket)
        shown = _shown(ticket)
        if is_ours:
            # Before the rules run, so that the book has causes before effects.
            self.book.write(
                "update_ticket",
                id=str(ticket.id),
                target={"ticket": ticket.id},
                reference=_reference(shown["custom_fields"]),
                sent=asked,
                changed=sorted(changed),
            )
        if changed:
            added = [tag for tag in shown["tags"] if tag not in before["tags"]]
            self._run_rules(ticket, "update", added=added, is_ours=is_ours)
        return shown

    def _say(self, ticket: Ticket, text: str) -> None:
        """The requester answers: a message comes in, and the ticket opens again."""
        if ticket.is_archived:
            raise ValueError(f"ticket {ticket.id} is archived: an answer would open another one")
        requester = self.contacts[ticket.fields["requester_id"]]
        asked = {"body": f"<div>{html.escape(text)}</div>", "user_id": requester["id"]}
        more = {"incoming": True, "from_email": requester.get("email"), "to_emails": [SUPPORT_EMAIL]}
        message = self._add(ticket, asked, source=0, is_private=False, more=more)
        ticket.stats["requester_responded_at"] = message["created_at"]
        if self.habits.says_reopens and ticket.fields["status"] in (3, 4, 5, 6):
            ticket.fields["status"] = 2
        self._after_message(ticket)

    def _flag(self, ticket: Ticket, flags: Mapping[str, Any]) -> None:
        ticket.is_archived = bool(flags.get("is_archived", ticket.is_archived))
        for name in ("spam", "deleted"):
            ticket.fields[name] = bool(flags.get(f"is_{name}", ticket.fields[name]))

    def _seed_ticket(self, data: Record) -> Ticket:
        extra = ("created_at", "updated_at", "conversations", *_FLAGS)
        ticket = self._make({name: value for name, value in data.items() if name not in extra})
        for each in data.get("conversations", ()):
            is_incoming = bool(each.get("is_incoming"))
            user = ticket.fields["requester_id"] if is_incoming else AGENT_ID
            is_private = bool(each.get("is_private", not is_incoming))
            more = {"incoming": is_incoming}
            asked = {"body": each["body"], "user_id": user}
            message = self._add(
                ticket, asked, source=2 if is_private else 0, is_private=is_private, more=more
            )
            ticket.conversations[-1] = (0.0, message)
        self._flag(ticket, data)
        created = data.get("created_at", ticket.fields["created_at"])
        ticket.fields |= {"created_at": created, "updated_at": data.get("updated_at", created)}
        ticket.known.clear()
        self._index(ticket, at=0.0)
        return ticket

    # ------------------------------------------------------------ requesters

    def _requester(self, asked: Record, *, is_ours: bool) -> Record:
        """The contact that the ticket is for; an unknown e-mail or external id makes one without a word."""
        if "requester_id" in asked:
            return self.contacts[asked["requester_id"]]
        for name in ("email", "unique_external_id"):
            if name in asked and (found := self._contact(name, asked[name])) is not None:
                return found
        made = self._add_contact(asked)
        if is_ours:
            reference = _reference(asked.get("custom_fields", {}))
            self.book.write("create_contact", id=str(made["id"]), reference=reference, email=made["email"])
        return made

    def _contact(self, name: str, value: str) -> Record | None:
        wanted = value.lower()
        return next((each for each in self.contacts.values() if (each[name] or "").lower() == wanted), None)

    def _add_contact(self, data: Record) -> Record:
        contact: Record = {
            "id": next(self._ids),
            "email": data.get("email"),
            "name": data.get("name") or (data.get("email") or "").partition("@")[0],
            "unique_external_id": data.get("unique_external_id"),
        }
        self.contacts[contact["id"]] = contact
        return contact

    # ------------------------------------------------------------ reading

    def _get_ticket(self, call: Call) -> Answer:
        ticket = self._ticket(call)
        asked = _query(call, ("include",))
        wanted = _choices(asked, "include", ("requester", "stats", "conversations"))
        shown = _shown(ticket) | self._embedded(ticket, wanted)
        if "conversations" in wanted:
            shown["conversations"] = self._visible(ticket)[:EMBEDDED_MOST]
        return Answer(200, shown)

    def _list_conversations(self, call: Call) -> Answer:
        ticket = self._ticket(call)
        asked = _query(call, ("page", "per_page"))
        return _page(call, self._visible(ticket), asked)

    def _list_tickets(self, call: Call) -> Answer:
        """Newest first. Without `updated_since` only young tickets; spam and deleted ones only by their filter."""
        asked = _query(call, _LISTED)
        wanted = _choices(asked, "include", ("requester", "stats", "description"))
        which = asked.get("filter", "")
        if which not in ("", "new_and_my_open", "watching", "spam", "deleted"):
            invalid(_error("filter", "There is no such filter", "invalid_value"))
        order = asked.get("order_by", "created_at")
        if order not in ("created_at", "due_by", "updated_at", "status"):
            invalid(_error("order_by", "It cannot be ordered by that", "invalid_value"))
        if asked.get("order_type", "desc") not in ("asc", "desc"):
            invalid(_error("order_type", "It should be one of these values: 'asc,desc'", "invalid_value"))
        since, youngest = _moment(asked, "updated_since"), self._stamp() - self.habits.list_delay_s
        oldest = _written(self.world.clock() - timedelta(days=self.habits.list_days))
        requester = self._listed_requester(asked)
        found = [
            each
            for each in self.tickets.values()
            if not each.is_archived
            and self._is_in_scope(each)
            and _is_filtered(each, which)
            and each.known[0][0] <= youngest
            and (requester is None or each.fields["requester_id"] == requester)
            and (each.fields["updated_at"] >= since if since else each.fields["created_at"] >= oldest)
        ]
        key = "created_at" if order == "due_by" else order
        found.sort(
            key=lambda each: (each.fields[key], each.id), reverse=asked.get("order_type", "desc") == "desc"
        )
        shown = [
            _shown(each, has_description="description" in wanted) | self._embedded(each, wanted)
            for each in found
        ]
        return _page(call, shown, asked, LIST_PAGES_MOST)

    def _listed_requester(self, asked: Mapping[str, str]) -> int | None:
        """The contact a list is narrowed to; None for all, 0 for one that nobody is."""
        for name in _REQUESTERS:
            if name not in asked:
                continue
            if name == "requester_id":
                number = int(asked[name]) if asked[name].isdigit() else 0
                contact = self.contacts.get(number)
            else:
                contact = self._contact(name, asked[name])
            if contact is not None:
                return int(contact["id"])
            if self.habits.unknown_requester_refused:
                invalid(_error(name, f"There is no contact with this {name}", "invalid_value"))
            return 0
        return None

    def _search(self, call: Call) -> Answer:
        """What the index knew a while ago picks the tickets; what is shown of them is of now."""
        asked = _query(call, ("query", "page"))
        query = asked.get("query", "")
        if len(query) < 2 or not (query.startswith('"') and query.endswith('"')):
            invalid(_error("query", "It should be enclosed in double quotes", "invalid_value"))
        if len(query) - 2 > QUERY_MOST:
            invalid(_error("query", f"It can have at most {QUERY_MOST} characters", "invalid_value"))
        page = asked.get("page", "1")
        if not page.isdigit() or not 1 <= int(page) <= SEARCH_PAGES_MOST:
            invalid(_error("page", f"It should be between 1 and {SEARCH_PAGES_MOST}", "invalid_value"))
        is_wanted = _Query(query[1:-1], {name: each["type"] for name, each in self.fields.items()}).read()
        newest = self._stamp() - self.habits.search_delay_s
        found = [
            ticket
            for ticket in reversed(self.tickets.values())
            if (known := _as_of(ticket, newest)) is not None
            and self._is_in_scope(ticket)
            and is_wanted(known)
        ]
        start = (int(page) - 1) * PAGE_SIZE
        shown = [_shown(each, has_description=False) for each in found[start : start + PAGE_SIZE]]
        return Answer(200, {"total": len(found), "results": shown})

    def _embedded(self, ticket: Ticket, wanted: Sequence[str]) -> Record:
        more: Record = {}
        if "requester" in wanted:
            contact = self.contacts[ticket.fields["requester_id"]]
            more["requester"] = {name: contact[name] for name in ("id", "name", "email")}
        if "stats" in wanted:
            more["stats"] = dict(ticket.stats)
        return more

    def _visible(self, ticket: Ticket) -> list[Record]:
        newest = self._stamp() - self.habits.conversations_delay_s
        return [dict(message) for at, message in ticket.conversations if at <= newest]

    # ------------------------------------------------------------ finding

    def _ticket(self, call: Call) -> Ticket:
        number = call.ids["id"]
        ticket = self.tickets.get(int(number)) if number.isdecimal() else None
        if ticket is None or ticket.is_archived:
            raise RefusalError(Answer(404))
        if not self._is_in_scope(ticket):
            fail(403, "access_denied", "The agent's scope does not reach this ticket.")
        return ticket

    def _writable(self, call: Call) -> Ticket:
        """A ticket that may be changed: one in the bin or marked as spam may only be read."""
        ticket = self._ticket(call)
        if ticket.is_trashed and self.habits.trashed_status == 409:
            fail(409, "inconsistent_state", "The ticket is deleted or spam.")
        if ticket.is_trashed:
            raise RefusalError(_not_allowed(call.method, ["GET"]))
        return ticket

    def _is_in_scope(self, ticket: Ticket) -> bool:
        """Global scope reaches all, group scope the group's, every scope the agent's own."""
        is_own = bool(ticket.fields["responder_id"] == AGENT_ID)
        is_of_group = bool(ticket.fields["group_id"] == GROUP_ID)
        return self.ticket_scope == 1 or is_own or (self.ticket_scope == 2 and is_of_group)

    def _known(self, number: Any) -> Ticket:
        ticket = self.tickets.get(int(number)) if str(number).isdecimal() else None
        if ticket is None:
            raise NoSuchObjectError(f"freshdesk has no ticket {number!r}")
        return ticket

    def _now(self) -> str:
        return _written(self.world.clock())

    def _stamp(self) -> float:
        return self.world.clock().timestamp()

    def _touch(self, ticket: Ticket) -> None:
        ticket.fields["updated_at"] = self._now()
        self._index(ticket)

    def _index(self, ticket: Ticket, at: float | None = None) -> None:
        known = {
            **{name: ticket.fields[name] for name in ("status", "priority", "type", "group_id")},
            **{name: ticket.fields[name] for name in ("created_at", "updated_at")},
            **ticket.fields["custom_fields"],
            "agent_id": ticket.fields["responder_id"],
            "tag": list(ticket.fields["tags"]),
            "is_gone": ticket.is_archived or ticket.is_trashed,
        }
        ticket.known.append((self._stamp() if at is None else at, known))

    # ------------------------------------------------------------ what may be sent

    def _check(self, asked: Record, allowed: Sequence[str], required: Sequence[str] = ()) -> None:
        """Ends the call where a field is missing, unknown or wrong."""
        if errors := self._errors(asked, allowed, required):
            invalid(*errors)

    def _errors(self, asked: Record, allowed: Sequence[str], required: Sequence[str] = ()) -> list[Record]:
        errors = [_error(name, "It is missing", "missing_field") for name in required if name not in asked]
        for name, value in asked.items():
            if name not in allowed:
                errors.append(_error(name, "There is no such field here", "invalid_field"))
            elif name == "custom_fields":
                errors += self._custom_errors(value)
            elif (wrong := self._wrong(name, value)) is not None:
                errors.append(_error(name, *wrong))
        return errors

    def _wrong(self, name: str, value: Any) -> Wrong | None:
        """What is wrong with a field's value: message and code."""
        match name:
            case "status":
                return _wrong_choice(value, self.statuses)
            case "priority":
                return _wrong_choice(value, _PRIORITIES)
            case "source":
                return _wrong_choice(value, _SOURCES)
            case "type":
                return None if value in _TYPES else ("There is no such type", "invalid_value")
            case "requester_id":
                return _wrong_choice(value, self.contacts, "There is no such contact")
            case "responder_id" | "user_id":
                return _wrong_choice(value, (AGENT_ID,), "There is no such agent")
            case "group_id":
                return _wrong_choice(value, (GROUP_ID,), "There is no such group")
            case "private" | "incoming":
                return None if isinstance(value, bool) else _mistyped("Boolean")
            case "tags":
                is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
                return None if is_list else _mistyped("Array of Strings")
            case "cc_emails" | "bcc_emails" | "notify_emails":
                return _wrong_emails(value)
            case "email" | "from_email":
                if name == "from_email" and isinstance(value, str) and value not in self.support_emails:
                    return "It is no support address of this desk", "invalid_value"
                return _wrong_emails([value])
            case _:
                if not isinstance(value, str):
                    return _mistyped("String")
                is_long = name == "subject" and len(value) > TEXT_MOST
                if is_long:
                    return f"It can have at most {TEXT_MOST} characters", "invalid_value"
                return None if value.strip() else ("It should not be blank", "invalid_value")

    def _custom_errors(self, value: Any) -> Iterable[Record]:
        if not isinstance(value, dict):
            yield _error("custom_fields", *_mistyped("key/value pair"))
            return
        for name, each in value.items():
            if name not in self.fields:
                yield _error(name, "There is no such field here", "invalid_field")
                continue
            if each is None:
                continue
            match self.fields[name]["type"]:
                case "custom_text" if not isinstance(each, str):
                    yield _error(name, *_mistyped("String"))
                case "custom_text" if len(each) > TEXT_MOST:
                    yield _error(name, f"It can have at most {TEXT_MOST} characters", "invalid_value")
                case "custom_number" if isinstance(each, bool) or not isinstance(each, int):
                    yield _error(name, *_mistyped("Integer"))
                case "custom_checkbox" if not isinstance(each, bool):
                    yield _error(name, *_mistyped("Boolean"))

    def _need_for_closure(self, asked: Record, present: Record) -> None:
        """Resolving or closing needs the fields that the account requires for it."""
        if asked.get("status") not in (4, 5):
            return
        values = {**present, **asked.get("custom_fields", {})}
        missing = [
            _error(name, "It should not be blank when the ticket is closed", "missing_field")
            for name, each in self.fields.items()
            if each.get("required_for_closure") and values.get(name) in (None, "", False)
        ]
        if missing:
            invalid(*missing)

    # ------------------------------------------------------------ rules and their webhooks

    def _run_rules(
        self, ticket: Ticket, on: str, *, added: Sequence[str] = (), is_ours: bool = False, depth: int = 0
    ) -> None:
        for rule in self.rules:
            if rule.on != on or (rule.tag and rule.tag not in ticket.fields["tags"]):
                continue
            if on == "update" and rule.ignores_api and is_ours:
                continue
            is_tagged = rule.tag in added if rule.tag else bool(added)
            if on == "update" and rule.when == "tag_added" and not is_tagged:
                continue
            new = self._apply(rule, ticket)
            if rule.event:
                self.emit(self._event(rule, ticket, f"{ticket.id}-{rule.event}-{next(self._ids)}"))
            if new is not None and self.habits.rules_cascade and depth < CASCADE_MOST:
                self._run_rules(ticket, "update", added=new, depth=depth + 1)

    def _apply(self, rule: Rule, ticket: Ticket) -> list[str] | None:
        """What the rule itself changes; the tags it added, or None where it only tells others."""
        if not (rule.add_tags or rule.status or rule.note):
            return None
        new = [tag for tag in rule.add_tags if tag not in ticket.fields["tags"]]
        ticket.fields["tags"] = [*ticket.fields["tags"], *new]
        ticket.fields["status"] = rule.status or ticket.fields["status"]
        if rule.note:
            self._add(ticket, {"body": rule.note}, source=2, is_private=True, more={})
        self._touch(ticket)
        self.book.write("apply_rule", id=str(ticket.id), target={"ticket": ticket.id}, rule=rule.name)
        return new

    def event_for(self, topic: str, object_id: str) -> Event:
        """A rule's event constant and a ticket's id: what the rule would post about the ticket as it is now."""
        rule = next((each for each in self.rules if each.event == topic), None)
        if rule is None:
            raise NoSuchObjectError(f"freshdesk has no rule that posts {topic!r}")
        ticket = self._known(object_id)
        return self._event(rule, ticket, f"{ticket.id}-{topic}-{ticket.fields['updated_at']}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """Nothing is signed: the secret itself travels, in a header of our naming or as Basic's credentials."""
        headers = {"Content-Type": "application/json"}
        if self.habits.webhook_auth == "basic":
            pair = secret if ":" in secret else f"{secret}:X"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            headers[WEBHOOK_HEADER] = secret
        return Delivery(headers, event.payload)

    def _event(self, rule: Rule, ticket: Ticket, event_id: str) -> Event:
        """The id is ours alone, for the log of deliveries: the vendor sends none."""
        fields = ticket.fields
        values = {
            "event": rule.event,
            **{f"ticket.{name}": value for name, value in {**fields["custom_fields"], **fields}.items()},
            "ticket.status": self.statuses[fields["status"]],
            "ticket.tags": ", ".join(fields["tags"]),
            "ticket.requester.email": self.contacts[fields["requester_id"]]["email"],
        }
        # Bare text, as the vendor does it: nothing is escaped for JSON.
        body = _PLACEHOLDER.sub(lambda found: str(values.get(found[1]) or ""), rule.body)
        return Event(event_id, rule.event, body.encode())


# ---------------------------------------------------------------- searches


Predicate = Callable[[Record], bool]


class _Query:
    """A search expression, read by descent: OR of ANDs, parentheses, `field:value`, `field:>value`, `field:<value`."""

    def __init__(self, text: str, custom: Mapping[str, str]) -> None:
        kinds: dict[str, type] = {"custom_text": str, "custom_number": int, "custom_checkbox": bool}
        self._kinds = {**_SEARCHED, **{name: kinds[kind] for name, kind in custom.items()}}
        self._tokens: list[re.Match[str]] = []
        text, place = text.rstrip(), 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                self._refuse()
            self._tokens.append(found)
            place = found.end()

    def read(self) -> Predicate:
        """Whether the index's knowledge of a ticket fits. Ends the call where this is no query."""
        test = self._either()
        if self._tokens:
            self._refuse()
        return lambda known: not known["is_gone"] and test(known)

    def _either(self) -> Predicate:
        tests = [self._both()]
        while self._takes(2, "OR"):
            tests.append(self._both())
        return lambda known: any(test(known) for test in tests)

    def _both(self) -> Predicate:
        tests = [self._one()]
        while self._takes(2, "AND"):
            tests.append(self._one())
        return lambda known: all(test(known) for test in tests)

    def _one(self) -> Predicate:
        if self._takes(1, "("):
            test = self._either()
            if not self._takes(1, ")"):
                self._refuse()
            return test
        if not self._tokens or self._tokens[0][3] is None:
            self._refuse()
        token = self._tokens.pop(0)
        return self._compared(token[3], token[4], token[5])

    def _takes(self, group: int, word: str) -> bool:
        if not self._tokens or self._tokens[0][group] != word:
            return False
        self._tokens.pop(0)
        return True

    def _compared(self, name: str, sign: str, written: str) -> Predicate:
        if name not in self._kinds:
            invalid(_error(name, "There is no such field here", "invalid_field"))
        value = None if written == "null" else self._value(name, written)
        if sign and (value is None or not (name.endswith("_at") or self._kinds[name] is int)):
            invalid(_error(name, "It cannot be compared", "invalid_value"))

        def is_wanted(known: Record) -> bool:
            here: Any = known.get(name)
            if value is None:
                return here in (None, [], "")
            if isinstance(here, list):
                return value in here
            if isinstance(value, str) and name.endswith("_at"):
                here = str(here)[: len(value)]
            if sign and here is not None:
                return bool(here >= value if sign == ">" else here <= value)
            return bool(here == value)

        return is_wanted

    def _value(self, name: str, written: str) -> str | int | bool:
        kind, is_quoted = self._kinds[name], written.startswith("'")
        if kind is str and is_quoted:
            return written[1:-1]
        if kind is int and written.lstrip("-").isdecimal():
            return int(written)
        if kind is bool and written in ("true", "false"):
            return written == "true"
        invalid(_error(name, *_mistyped({str: "quoted String", int: "Integer", bool: "Boolean"}[kind])))

    def _refuse(self) -> NoReturn:
        invalid(_error("query", "The query cannot be read", "invalid_value"))


def _as_of(ticket: Ticket, at: float) -> Record | None:
    """What the index knew of the ticket at that time; None where it did not know it yet."""
    return next((known for when, known in reversed(ticket.known) if when <= at), None)


# ---------------------------------------------------------------- requests read


def _object(call: Call) -> Record:
    """The JSON object sent. Ends the call where it is none."""
    if call.content_type != "application/json":
        raise RefusalError(Answer(415, {"message": "Content-Type should be application/json"}))
    asked = call.json
    if not isinstance(asked, dict):
        fail(400, "invalid_json", "The body is no JSON object.")
    return asked


def _query(call: Call, allowed: Sequence[str]) -> dict[str, str]:
    """The query's parameters. Ends the call where one is not known here."""
    asked = dict(call.query_pairs)
    if strange := [name for name in asked if name not in allowed]:
        invalid(*(_error(name, "There is no such field here", "invalid_field") for name in strange))
    return asked


def _choices(asked: Mapping[str, str], name: str, allowed: Sequence[str]) -> list[str]:
    wanted = [each.strip() for each in asked.get(name, "").split(",") if each.strip()]
    if any(each not in allowed for each in wanted):
        invalid(_error(name, f"It should be one of these values: '{','.join(allowed)}'", "invalid_value"))
    return wanted


def _page(call: Call, items: Sequence[Record], asked: Mapping[str, str], pages_most: int = 0) -> Answer:
    """A page of a list; the `link` header has the next one's address, where there is one."""
    page, size = asked.get("page", "1"), asked.get("per_page", str(PAGE_SIZE))
    if not page.isdigit() or int(page) < 1 or (pages_most and int(page) > pages_most):
        told = f"It should be a positive number{f' up to {pages_most}' if pages_most else ''}"
        invalid(_error("page", told, "invalid_value"))
    if not size.isdigit() or not 1 <= int(size) <= PAGE_SIZE_MOST:
        invalid(_error("per_page", f"It should be between 1 and {PAGE_SIZE_MOST}", "invalid_value"))
    start = (int(page) - 1) * int(size)
    headers = {}
    if start + int(size) < len(items):
        following = urlencode({**asked, "page": int(page) + 1})
        headers["link"] = f'<{_base(call)}{call.path}?{following}>; rel="next"'
    return Answer(200, list(items[start : start + int(size)]), headers)


def _moment(asked: Mapping[str, str], name: str) -> str:
    """A moment as tickets write theirs, so that texts compare; empty where none was sent."""
    text = asked.get(name, "")
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        invalid(_error(name, *_mistyped("DateTime")))
    return _written(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_MOMENT)


def _credits(call: Call) -> int:
    """What the call costs: each include one more at a ticket, two more at a list."""
    included = [each for each in dict(call.query_pairs).get("include", "").split(",") if each]
    return 1 + len(included) * (2 if call.operation == "list_tickets" else 1)


def _is_filtered(ticket: Ticket, which: str) -> bool:
    match which:
        case "spam" | "deleted":
            return bool(ticket.fields[which])
        case "new_and_my_open":
            is_mine = ticket.fields["responder_id"] in (None, AGENT_ID)
            return is_mine and ticket.fields["status"] == 2 and not ticket.is_trashed
        case "watching":
            return False
        case _:
            return not ticket.is_trashed


# ---------------------------------------------------------------- what is wrong, and what is shown


def _error(name: str, message: str, code: str) -> Record:
    return {"field": name, "message": message, "code": code}


def _validation(errors: Iterable[Record], status: int = 400) -> Answer:
    return Answer(status, {"description": "Validation failed", "errors": list(errors)})


def _not_allowed(method: str, allowed: Sequence[str]) -> Answer:
    message = f"{method} is not allowed here; allowed: {', '.join(allowed)}"
    return Answer(405, {"message": message}, {"Allow": ", ".join(allowed)})


def _mistyped(kind: str) -> Wrong:
    return f"It should be a/an {kind}", "datatype_mismatch"


def _wrong_choice(value: Any, known: Iterable[int], message: str = "") -> Wrong | None:
    told = message or f"It should be one of these values: '{','.join(str(each) for each in known)}'"
    if isinstance(value, bool) or not isinstance(value, int):
        return told, "datatype_mismatch"
    return None if value in known else (told, "invalid_value")


def _wrong_emails(value: Any) -> Wrong | None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return _mistyped("valid email address")
    if len(value) > EMAILS_MOST:
        return f"It can have at most {EMAILS_MOST} addresses", "invalid_value"
    is_valid = all(_EMAIL.fullmatch(each) for each in value)
    return None if is_valid else ("It should be in the format of an email address", "invalid_value")


def _shown(ticket: Ticket, *, has_description: bool = True) -> Record:
    """A copy, so that later changes do not reach into an answer already given."""
    hidden = () if has_description else ("description", "description_text")
    shown = {name: value for name, value in ticket.fields.items() if name not in hidden}
    return {**shown, "tags": list(shown["tags"]), "custom_fields": dict(shown["custom_fields"])}


def _sanitised(body: str, *, keeps_comments: bool) -> str:
    """The HTML as it is kept: no scripts, and as a rule no comments."""
    clean = re.sub(r"<(script|style)\b.*?</\1\s*>", "", body, flags=re.DOTALL | re.IGNORECASE)
    return clean if keeps_comments else re.sub(r"<!--.*?-->", "", clean, flags=re.DOTALL)


def _text(body: str) -> str:
    spaced = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    spaced = re.sub(r"<br\s*/?>|</(p|div|li)>", " ", spaced, flags=re.IGNORECASE)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", spaced)).split())


def _reference(custom: Mapping[str, Any]) -> Any:
    return custom.get("cf_rf_op") or custom.get("cf_rf_case")


def _base(call: Call) -> str:
    """Where the caller reached us, so that it can follow a link."""
    host = call.headers.get("host", "")
    return f"http://{host}/freshdesk" if host else "https://practice.freshdesk.com"
