"""Practice SendGrid: sending, message search, suppressions and scopes under `/sendgrid/`, its event webhook and Inbound Parse.

Web API v3. Shapes: the vendor's OpenAPI files (twilio/sendgrid-oai of 2026-01-22), https://www.twilio.com/docs/sendgrid and error
answers that its users have posted in public issues, read 2026-11-23. Where they are silent, `Habits` names the practised reading.

Strict about: bearer keys and their scopes (401 unknown key, 403 missing scope), verified senders, JSON alone, types and unknown
fields, one address once, plain text before HTML, reserved headers, custom arguments (strings, 10,000 bytes), categories, the 72
hours of `send_at`, what a search may ask (case counts, no pages), requests a minute. Nothing here is idempotent: a second call
sends a second mail. 202 says only that the mail is queued; a suppressed address gets 202 and then a `dropped` event. Email
Activity (`/v3/messages`) is an add-on: 403 until seeded. Not practised: templates and batches (refused as unknown),
substitutions (left as they stand), what attachments hold.

`seed({"verified"?: [domain or address], "keys"?: {key: [scope] | null}, "suppressions"?: [{"list": "bounces" | "blocks" |
"invalid_emails" | "spam_reports" | "global" | "group", "email", "reason"?, "status"?, "group"? (id)}], "groups"?: [{"id", "name",
"description"?, "is_default"?}], "bouncing"?: [address], "blocking"?: [address], "inbound"?: [mail], "activity"?: bool,
"send_raw"?: bool, "habits"?: {…}})`; a key with null is revoked; a mail is `{"to", "from", "subject", "text", "html"?, "cc"?,
"envelope_from"?, "envelope_to"?, "spf"?, "dkim"?, "sender_ip"?, "message_id"?, "headers"?: [[name, value]], "charsets"?: {field:
charset}, "spam_score"?, "attachments"?: [{"filename", "type"?, "content"}]}`.

`settle` takes `{"message": "<X-Message-Id or sg_message_id>", "event": "delivered" | "bounce" | "blocked" | "deferred" | "dropped"
| "spamreport" | "unsubscribe" | …, "reason"?, "status"?}` (what became of a mail) or `{"inbound": mail}` (somebody writes: posted to
whoever subscribed). A slow_pending fault leaves a mail processed (its code "deferred": deferred too; "queued": without any
event); late_failure lets it bounce afterwards, and that event names no message. A mail with a later `send_at` waits likewise.

Webhooks: all events of one act in one signed JSON array (topic `events`), or one form for each mail that comes in (topic
`inbound`). A subscription's secret stands for the vendor's key pairs, one for each hook: `public_key_of`. Without a secret nothing is signed.

Book, a line for each recipient: `send_message`, `test_message` (sandbox mode: nothing left the house), `drop_message` (the address
is suppressed). `id` is the sg_message_id, `reference` the custom argument `rf_op`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.header import Header
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from operator import ge, gt, le, lt
from typing import Any, ClassVar, Final, Literal, NoReturn
from urllib.parse import unquote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Operation,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

API_KEY: Final = "SG.practice-full.key"
SENDING_KEY: Final = "SG.practice-sending.key"
READING_KEY: Final = "SG.practice-reading.key"
DOMAIN: Final = "sg.practice.example"
WEBHOOK_SECRET: Final = "practice-sendgrid-webhooks"  # noqa: S105 (a practice secret, known to everybody)
EVENT_PUBLIC_KEY: Final = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ36a0sy4wFwGaILBtNqeYIMicqrAdfuF0cJ1HDFGbK25mFDx0IYTVR2lhViV7j1ZNRoY+amAqb4ws9PuyB2kyQ=="
PARSE_PUBLIC_KEY: Final = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFFcxlGERTWY57FZv2NbM+7fzdiyHqA1qpiq0l914XADPZ5AnnH7o+vQbtNzQimkJcWvX+CeopHTpehd290KI2w=="
SIGNATURE_HEADER: Final = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER: Final = "X-Twilio-Email-Event-Webhook-Timestamp"
BOUNDARY: Final = "xYzZY"

BODY_MOST: Final = 30 * 1024 * 1024
RECIPIENTS_MOST: Final = 1_000
ARGUMENTS_MOST: Final = 10_000
CATEGORIES_MOST: Final = 10
CATEGORY_MOST: Final = 255
AHEAD_MOST_S: Final = 72 * 3_600
FOUND: Final = 10
FOUND_MOST: Final = 1_000

Hook = Literal["event", "parse"]

_SENDING: Final = ("mail.send",)
_READING: Final = ("asm.groups.read", "asm.suppressions.global.read", "messages.read", "suppression.read")
_LISTS: Final = ("bounces", "blocks", "invalid_emails", "spam_reports")
_SCOPES: Final = {
    "send_mail": "mail.send",
    **dict.fromkeys(("search_logs", "get_log", "search_activity"), "messages.read"),
    **dict.fromkeys((f"get_{each}" for each in _LISTS), "suppression.read"),
    "get_global": "asm.suppressions.global.read",
    "get_groups": "asm.groups.read",
}
# A block is about one mail, so it stops no later one.
_DROPS: Final = {
    "bounces": ("Bounced Address", "bypass_bounce_management"),
    "invalid_emails": ("Invalid", "bypass_bounce_management"),
    "spam_reports": ("Spam Reporting Address", "bypass_spam_management"),
    "global": ("Unsubscribed Address", "bypass_unsubscribe_management"),
}
_BYPASS_ALL: Final = "bypass_list_management"
_STATUSES: Final = {"processed": "processed", "deferred": "deferred", "dropped": "dropped"}
_DELIVERY: Final = ("processed", "deferred", "delivered", "dropped", "bounce")
_OTHER: Final = ("open", "click", "spamreport", "unsubscribe", "group_unsubscribe", "group_resubscribe")
_SUPPRESSING: Final = {
    "bounce": "bounces",
    "blocked": "blocks",
    "spamreport": "spam_reports",
    "unsubscribe": "global",
    "group_unsubscribe": "group",
}

_PERSON: Final = {
    **dict.fromkeys(("to", "cc", "bcc"), "array"),
    **dict.fromkeys(("from", "headers", "substitutions", "dynamic_template_data", "custom_args"), "object"),
    "subject": "string",
    "send_at": "integer",
}
_MESSAGE: Final = {
    **dict.fromkeys(("personalizations", "reply_to_list", "content", "attachments", "categories"), "array"),
    **dict.fromkeys(
        ("from", "reply_to", "headers", "custom_args", "asm", "mail_settings", "tracking_settings"), "object"
    ),
    **dict.fromkeys(("subject", "template_id", "batch_id", "ip_pool_name"), "string"),
    "send_at": "integer",
}
_RESERVED: Final = frozenset(
    ("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding")
) | {"to", "from", "subject", "reply-to", "cc", "bcc"}
_TYPES: Final = {
    dict: "object",
    list: "array",
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}
_ADDRESS: Final = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\".]+(\.[^\s@<>,;\".]+)+")
_HELP: Final = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."

_TEXT: Final = r"'(?:[^']|'')*'"
_LOG_TERM: Final = re.compile(
    rf"\s*(\w+)\s*(>=|<=|=|>|<|IN\b)\s*({_TEXT}|\(\s*{_TEXT}(?:\s*,\s*{_TEXT})*\s*\))\s*"
)
_LOG_OPERATORS: Final = {
    **dict.fromkeys(("sg_message_id", "subject", "to_email", "reason"), ("=",)),
    **dict.fromkeys(("status", "categories"), ("IN",)),
    "sg_message_id_created_at": (">", "<", ">=", "<="),
}
_ACTIVITY_TERM: Final = re.compile(
    r"\s*\(?\s*(\w+|unique_args\['[^']+'\])\s*(=|LIKE\b)\s*(\"[^\"]*\"|'[^']*')\s*\)?\s*"
)
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or promises loosely.

    `found_after_s`: how long after it happened an event can be found. `retention_s`: how long a mail can be found at all.
    `keeps_message_id`: whether a `Message-ID` header of the sender's is used (it is the `smtp-id` of events then).
    `has_prefixed_ids`: whether an sg_message_id begins with the X-Message-Id of the call. `refuses_unknown_fields`: whether
    a mail with a field that is not described is refused. `signs_retries_anew`: whether each try of a webhook has its own
    time stamp. `reads_per_minute`, `activity_searches_per_minute`: requests of one kind until 429.
    """

    found_after_s: float = 0.0
    retention_s: int = 30 * 86_400
    keeps_message_id: bool = True
    has_prefixed_ids: bool = True
    refuses_unknown_fields: bool = True
    signs_retries_anew: bool = True
    reads_per_minute: int = 600
    activity_searches_per_minute: int = 6


@dataclass(frozen=True, slots=True)
class Mail:
    """One recipient's copy. `message_id`: the X-Message-Id of the call that made it. `smtp_id`: with angle brackets."""

    message_id: str
    sg_message_id: str
    smtp_id: str
    recipient: str
    sender: str
    subject: str
    arguments: dict[str, str]
    categories: list[str]
    group: int | None
    at: datetime


def problem(message: str, field: str | None = None) -> Record:
    """One error as the vendor writes it, with the link to its page where a field is named."""
    page = None if field is None else _HELP + re.sub(r"\.\d+|\.email$", "", field)
    return {"message": message, "field": field, "help": page}


def fail(message: str, status: int = 400, field: str | None = None) -> NoReturn:
    """Ends the call with one error that has no page."""
    raise RefusalError(_error(status, message, field))


def _error(status: int, message: str, field: str | None = None) -> Answer:
    return Answer(status, {"errors": [{"message": message, "field": field, "help": None}]})


# ---------------------------------------------------------------- signatures


@lru_cache(maxsize=64)
def key_of(secret: str, hook: Hook) -> ec.EllipticCurvePrivateKey:
    """The key pair that a secret stands for; the vendor makes one for each event webhook and each parse policy."""
    digest = hashlib.sha256(f"{hook}:{secret}".encode()).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def public_key_of(secret: str, hook: Hook) -> str:
    """What the vendor shows of it: base64 of the SPKI form."""
    key = key_of(secret, hook).public_key()
    form = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(form).decode()


def signed_bytes(timestamp: str, body: bytes) -> bytes:
    """What a signature covers: the time stamp, then the body to its last byte."""
    return timestamp.encode() + body


def events_body(events: Sequence[Record]) -> bytes:
    """A batch as it is posted. The line's end belongs to it: whoever reads and writes it anew gets other bytes."""
    return json.dumps(events, sort_keys=True, separators=(",", ":")).encode() + b"\r\n"


class SendGrid(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "sendgrid"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._routes = (
            Route("GET", "/v3/scopes", "get_scopes", self._get_scopes),
            Route("POST", "/v3/mail/send", "send_mail", self._send),
            Route("POST", "/v3/logs", "search_logs", self._search_logs),
            Route("GET", "/v3/logs/{id}", "get_log", self._get_log),
            Route("GET", "/v3/messages", "search_activity", self._search_activity),
            *(
                Route("GET", f"/v3/suppression/{each}/{{email}}", f"get_{each}", self._get_suppression)
                for each in _LISTS
            ),
            Route("GET", "/v3/asm/suppressions/global/{email}", "get_global", self._get_global),
            Route("GET", "/v3/asm/suppressions/{email}", "get_groups", self._get_groups),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.keys: dict[str, tuple[str, ...]] = {
            API_KEY: _SENDING + _READING,
            SENDING_KEY: _SENDING,
            READING_KEY: _READING,
        }
        self.verified = {DOMAIN}
        self.groups: dict[int, Record] = {}
        self.suppressions: dict[tuple[str, str], Record] = {}
        self.unsubscribed: set[tuple[int, str]] = set()
        self.bouncing: set[str] = set()
        self.blocking: set[str] = set()
        self.has_activity = False
        self.sends_raw = False
        self.mails: dict[str, Mail] = {}
        self.inbound: dict[str, Event] = {}
        self._events: dict[str, list[Record]] = {}
        # Bounces that came back after the delivery: their webhook event names no message.
        self._late_ids: set[str] = set()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._timestamps: dict[str, str] = {}

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.has_activity = bool(data.get("activity", self.has_activity))
            self.sends_raw = bool(data.get("send_raw", self.sends_raw))
            self.verified |= {each.lower() for each in data.get("verified", ())}
            for key, scopes in data.get("keys", {}).items():
                self.keys.pop(key, None)
                if scopes is not None:
                    self.keys[key] = tuple(scopes)
            for each in data.get("groups", ()):
                self.groups[int(each["id"])] = {"description": "", "is_default": False, **each}
            for each in data.get("suppressions", ()):
                if each["list"] not in (*_LISTS, "global", "group"):
                    raise ValueError(f"cannot seed sendgrid: no list {each['list']!r}")
                self._suppress(each["list"], each["email"], each.get("group"), each)
            self.bouncing |= {each.lower() for each in data.get("bouncing", ())}
            self.blocking |= {each.lower() for each in data.get("blocking", ())}
            inbound = [self._receive(each).id for each in data.get("inbound", ())]
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed sendgrid: {wrong!r}") from wrong
        return {"verified": sorted(self.verified), "inbound": inbound}

    def settle(self, data: Record) -> Record:
        match data:
            case {"message": str(id), "event": str(kind)} if kind in (*_DELIVERY, *_OTHER, "blocked"):
                mails = self._mails_of(id)
                told = [
                    self._happen(each, kind, data.get("reason", ""), data.get("status")) for each in mails
                ]
                self._post(told)
                return {"message": id, "event": kind, "ids": [each["sg_event_id"] for each in told]}
            case {"inbound": dict(mail)}:
                try:
                    event = self._receive(mail)
                except KeyError as missing:
                    raise ValueError(f"an inbound mail needs {missing}") from missing
                self.emit(event)
                return {"inbound": event.id}
            case _:
                raise ValueError('sendgrid settles {"message": …, "event": …} or {"inbound": {…}}')

    # ------------------------------------------------------------ at the door

    def find(self, call: Call) -> Operation:
        operation = super().find(call)
        if operation.name == "unknown" and any(
            each.match(replace(call, method=each.method)) for each in self._routes
        ):
            return Operation("unknown", lambda _: _error(405, "method not allowed"))
        return operation

    def authorise(self, call: Call) -> Answer | None:
        """A bearer key with the operation's scope; what a key may do is for every key to read."""
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        if not key:
            return _error(401, "authorization required")
        if scheme.lower() != "bearer" or key not in self.keys:
            return self.unauthorised(call)
        scope = _SCOPES.get(call.operation)
        return None if scope is None or scope in self.keys[key] else _error(403, "access forbidden")

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _error(401, "The provided authorization grant is invalid, expired, or revoked")

    def refuse(self, call: Call) -> Answer:
        """The fault's `code` is the message."""
        message = call.fault.code if call.fault is not None else ""
        return _error(400, message or "Bad Request")

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return _error(404, "not found")

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        message = "too many requests" if status == 429 else "internal server error"
        return {"errors": [{"message": message, "field": None, "help": None}]}

    def begin(self, call: Call) -> Answer | None:
        """Counts the requests of a minute. Sending is bounded by the plan, not by the minute."""
        if (most := self._most(call)) is None:
            return None
        place = (call.operation, int(self._now_s() // 60))
        self._counts[place] += 1
        if self._counts[place] <= most:
            return None
        return Answer(429, self.failure(call, 429), self._rate(call, 429))

    def finish(self, call: Call, answer: Answer) -> Answer:
        return replace(answer, headers={**self._rate(call, answer.status), **answer.headers})

    def _most(self, call: Call) -> int | None:
        if call.operation in ("send_mail", "unknown"):
            return None
        is_activity = call.operation == "search_activity"
        return self.habits.activity_searches_per_minute if is_activity else self.habits.reads_per_minute

    def _rate(self, call: Call, status: int) -> dict[str, str]:
        most = self._most(call)
        if most is None and status != 429:
            return {}
        minute = int(self._now_s() // 60)
        left = 0 if most is None or status == 429 else most - self._counts[call.operation, minute]
        return {
            "X-RateLimit-Limit": str(most or 0),
            "X-RateLimit-Remaining": str(max(left, 0)),
            "X-RateLimit-Reset": str((minute + 1) * 60),
        }

    def _now_s(self) -> float:
        return self.world.clock().timestamp()

    def _get_scopes(self, call: Call) -> Answer:
        return Answer(200, {"scopes": list(self.keys[call.headers["authorization"].partition(" ")[2]])})

    # ------------------------------------------------------------ sending

    def _send(self, call: Call) -> Answer:
        if call.content_type != "application/json":
            fail("Content-Type should be application/json.")
        if len(call.body) > BODY_MOST:
            fail("The message is larger than 30 MB", 413)
        body = call.json
        if not isinstance(body, dict) or not _has_string_arguments(body):
            fail("Bad Request")
        problems = list(_problems(body, self._now_s(), is_strict=self.habits.refuses_unknown_fields))
        if problems:
            raise RefusalError(Answer(400, {"errors": problems}))
        for sender in (body["from"], *(each["from"] for each in body["personalizations"] if "from" in each)):
            self._check_sender(sender["email"].lower())
        settings = body.get("mail_settings", {})
        is_test = _is_on(settings, "sandbox_mode")
        message_id = self.mint(length=22)
        told: list[Record] = []
        at = 0
        for person in body["personalizations"]:
            for field in ("to", "cc", "bcc"):
                for each in person.get(field, ()):
                    mail = self._make_mail(message_id, at, body, person, each["email"])
                    told += self._carry(call, mail, body, person, is_test=is_test)
                    at += 1
        if is_test:
            return Answer(200)
        self._post(told)
        return Answer(202, None, {"X-Message-Id": message_id})

    def _check_sender(self, address: str) -> None:
        if address not in self.verified and address.rpartition("@")[2] not in self.verified:
            fail(
                "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements",
                403,
                "from",
            )

    def _make_mail(self, message_id: str, at: int, body: Record, person: Record, recipient: str) -> Mail:
        headers = {name.lower(): value for name, value in _merged("headers", body, person).items()}
        asked = headers.get("message-id", "").strip()
        is_kept = self.habits.keeps_message_id and re.fullmatch(r"<[^\s<>@]+@[^\s<>@]+>", asked) is not None
        stem = message_id if self.habits.has_prefixed_ids else self.mint(length=22)
        own = {**body, **person}
        return Mail(
            message_id,
            f"{stem}.recvd-practice-{int(self._now_s()):X}-{at}.0",
            asked if is_kept else f"<{stem}@geopod-ismtpd-practice>",
            recipient,
            own["from"]["email"],
            own.get("subject", ""),
            _merged("custom_args", body, person),
            body.get("categories", []),
            body.get("asm", {}).get("group_id"),
            self.world.clock(),
        )

    def _carry(self, call: Call, mail: Mail, body: Record, person: Record, *, is_test: bool) -> list[Record]:
        """Queues one recipient's copy; returns what is told of it at once."""
        reason = self._drop_reason(mail, body.get("mail_settings", {}))
        effect = "test_message" if is_test else "drop_message" if reason else "send_message"
        self.book.write(
            effect,
            id=mail.sg_message_id,
            target={"recipient": mail.recipient},
            reference=mail.arguments.get("rf_op"),
            recipient=mail.recipient,
            subject=mail.subject,
            text=next((each["value"] for each in body["content"] if each["type"] == "text/plain"), ""),
            message_id=mail.message_id,
            rf_op=mail.arguments.get("rf_op"),
            custom_args=mail.arguments,
            categories=mail.categories,
        )
        if is_test:
            return []
        self.mails[mail.sg_message_id] = mail
        self._events[mail.sg_message_id] = []
        code = call.fault.code if call.fault is not None else ""
        is_held = call.has(Kind.SLOW_PENDING)
        if {"send_at": 0, **body, **person}["send_at"] > self._now_s() or (is_held and code == "queued"):
            return []
        if reason:
            return [self._happen(mail, "dropped", reason)]
        told = [self._happen(mail, "processed")]
        if is_held:
            return told + ([self._happen(mail, "deferred")] if code == "deferred" else [])
        if mail.recipient.lower() in self.bouncing:
            return [*told, self._happen(mail, "bounce")]
        if mail.recipient.lower() in self.blocking:
            return [*told, self._happen(mail, "blocked")]
        if call.has(Kind.LATE_FAILURE):
            self.late.append(lambda: self._bounce_late(mail))
        return [*told, self._happen(mail, "delivered")]

    def _drop_reason(self, mail: Mail, settings: Record) -> str:
        """Why the mail is not even tried, or nothing."""
        address = mail.recipient.lower()
        if _is_on(settings, _BYPASS_ALL):
            return ""
        for name, (reason, bypass) in _DROPS.items():
            if (name, address) in self.suppressions and not _is_on(settings, bypass):
                return reason
        return "Unsubscribed Address" if (mail.group, address) in self.unsubscribed else ""

    # ------------------------------------------------------------ what becomes of a mail

    def _happen(self, mail: Mail, kind: str, reason: str = "", status: str | None = None) -> Record:
        """Notes an event, and suppresses an address that bounced, complained or left. `kind` is an event or "blocked"."""
        now = self._now_s()
        told: Record = {
            "event": "bounce" if kind == "blocked" else kind,
            "email": mail.recipient,
            "timestamp": int(now),
            "sg_event_id": self.mint(length=48),
            "sg_message_id": mail.sg_message_id,
            "category": mail.categories,
            "custom_args": mail.arguments,
        }
        if mail.group is not None:
            told["asm_group_id"] = mail.group
        if told["event"] in _DELIVERY:
            told["smtp-id"] = mail.smtp_id
        match kind:
            case "delivered":
                told |= {"response": reason or "250 OK", "ip": "192.0.2.10", "tls": 1}
            case "deferred":
                tries = sum(each["event"] == "deferred" for each in self._events[mail.sg_message_id]) + 1
                told |= {"response": reason or "450 4.2.1 try again later", "attempt": str(tries)}
            case "dropped":
                told["reason"] = reason or "Invalid"
            case "bounce" | "blocked":
                is_hard = kind == "bounce"
                reason = reason or ("550 5.1.1 no such mailbox" if is_hard else "554 5.7.1 not accepted")
                status = ("5.1.1" if is_hard else "5.7.1") if status is None else status
                told |= {"type": kind, "reason": reason, "ip": "192.0.2.10", "tls": 1}
                told |= {"status": status} if status else {}
            case "unsubscribe":
                told["date"] = f"{self.world.clock():%Y-%m-%d}"
        if (name := _SUPPRESSING.get(kind)) is not None:
            self._suppress(name, mail.recipient, mail.group, {"reason": reason, "status": status or ""})
        self._events[mail.sg_message_id].append(told)
        return told

    def _bounce_late(self, mail: Mail) -> Record:
        told = self._happen(mail, "bounce")
        self._late_ids.add(told["sg_event_id"])
        self._post([told])
        return told

    def _suppress(self, name: str, address: str, group: int | None, data: Record) -> None:
        if name == "group":
            if group not in self.groups:
                raise NoSuchObjectError(f"sendgrid has no unsubscribe group {group!r}")
            self.unsubscribed.add((group, address.lower()))
            return
        entry: Record = {"created": int(self._now_s()), "email": address}
        if name in ("bounces", "blocks", "invalid_emails"):
            entry["reason"] = data.get("reason", "")
        if name in ("bounces", "blocks"):
            entry["status"] = data.get("status", "")
        if name == "spam_reports":
            entry["ip"] = "192.0.2.10"
        self.suppressions[name, address.lower()] = entry

    def _mails_of(self, id: str) -> list[Mail]:
        """By X-Message-Id or sg_message_id. Raises NoSuchObjectError."""
        found = [each for each in self.mails.values() if id in (each.message_id, each.sg_message_id)]
        if not found:
            raise NoSuchObjectError(f"sendgrid sent no message {id!r}")
        return found

    # ------------------------------------------------------------ reading

    def _visible(self) -> Iterator[tuple[Mail, list[Record]]]:
        """Mails that can be found by now, newest first, with the events that can."""
        now = self._now_s()
        for id, mail in reversed(self.mails.items()):
            events = [
                each for each in self._events[id] if each["timestamp"] <= now - self.habits.found_after_s
            ]
            if events and mail.at.timestamp() >= now - self.habits.retention_s:
                yield mail, events

    def _search_logs(self, call: Call) -> Answer:
        body = call.json
        if not isinstance(body, dict):
            fail("Bad Request")
        limit = _limit(body.get("limit", FOUND))
        query = body.get("query", "")
        if not isinstance(query, str):
            fail("query must be a string", field="query")
        terms = _read_log_query(query) if query.strip() else []
        found = (_summary(mail, events) for mail, events in self._visible() if _fits(mail, events, terms))
        return Answer(200, {"messages": [each for each, _ in zip(found, range(limit), strict=False)]})

    def _get_log(self, call: Call) -> Answer:
        for mail, events in self._visible():
            if mail.sg_message_id == unquote(call.ids["id"]):
                return Answer(
                    200,
                    {
                        "from_email": mail.sender,
                        "sg_message_id": mail.sg_message_id,
                        "subject": mail.subject,
                        "to_email": mail.recipient,
                        "status": _status(events),
                        "api_key_id": "practice",
                        "client_ip": "192.0.2.20",
                        "category": mail.categories,
                        "custom_args": mail.arguments,
                        "events": events[-100:],
                    },
                )
        return _error(404, "message not found", "sg_message_id")

    def _search_activity(self, call: Call) -> Answer:
        if not self.has_activity:
            fail("access forbidden", 403)
        asked = dict(call.query_pairs)
        text = asked.get("limit", str(FOUND))
        limit = _limit(int(text) if text.isdecimal() else text)
        query = asked.get("query", "")
        terms = _read_terms(query, _ACTIVITY_TERM) if query.strip() else []
        found = (
            _activity(mail, events) for mail, events in self._visible() if _is_active(mail, events, terms)
        )
        return Answer(200, {"messages": [each for each, _ in zip(found, range(limit), strict=False)]})

    def _get_suppression(self, call: Call) -> Answer:
        entry = self.suppressions.get((call.operation.removeprefix("get_"), _address(call)))
        return Answer(200, [] if entry is None else [entry])

    def _get_global(self, call: Call) -> Answer:
        entry = self.suppressions.get(("global", _address(call)))
        return Answer(200, {} if entry is None else {"recipient_email": entry["email"]})

    def _get_groups(self, call: Call) -> Answer:
        address = _address(call)
        every = [
            {**group, "suppressed": (id, address) in self.unsubscribed} for id, group in self.groups.items()
        ]
        return Answer(200, {"suppressions": every})

    # ------------------------------------------------------------ mail that comes in

    def _receive(self, mail: Record) -> Event:
        """A mail that somebody wrote, as the form that is posted for it. Raises KeyError, and ValueError for a strange charset."""
        to, sender, text = mail["to"], mail["from"], mail["text"]
        whole = self._write_mime(mail)
        attachments = mail.get("attachments", ())
        envelope = {
            "to": [mail.get("envelope_to", parseaddr(to)[1])],
            "from": mail.get("envelope_from", parseaddr(sender)[1]),
        }
        texts = {"to": to, "from": sender, "cc": mail.get("cc"), "subject": mail["subject"]}
        if not self.sends_raw:
            texts |= {"text": text, "html": mail.get("html")}
        texts = {name: value for name, value in texts.items() if value is not None}
        charsets = {name: mail.get("charsets", {}).get(name, "UTF-8") for name in texts}
        fields: list[tuple[str, bytes]] = [
            ("dkim", mail.get("dkim", "none").encode()),
            ("SPF", mail.get("spf", "none").encode()),
            ("sender_ip", mail.get("sender_ip", "192.0.2.30").encode()),
            ("envelope", json.dumps(envelope, separators=(",", ":")).encode()),
            ("charsets", json.dumps(charsets, separators=(",", ":")).encode()),
        ]
        if "spam_score" in mail:
            fields.append(("spam_score", str(mail["spam_score"]).encode()))
        if self.sends_raw:
            fields.append(("email", whole))
        else:
            fields += [("headers", whole.partition(b"\n\n")[0] + b"\n")]
            fields += [("attachments", str(len(attachments)).encode())]
        try:
            fields += [(name, value.encode(charsets[name], "replace")) for name, value in texts.items()]
        except LookupError as strange:
            raise ValueError(f"cannot write an inbound mail: {strange}") from strange
        files = [] if self.sends_raw else attachments
        event = Event(self.mint("parse-", 20), "inbound", _form(fields, files))
        self.inbound[event.id] = event
        return event

    def _write_mime(self, mail: Record) -> bytes:
        """The whole mail. Header lines are written as given: a forged second From stays."""
        parts = [MIMEText(mail["text"], "plain", "utf-8")]
        if "html" in mail:
            parts.append(MIMEText(mail["html"], "html", "utf-8"))
        whole: MIMEText | MIMEMultipart = (
            parts[0] if len(parts) == 1 else MIMEMultipart("alternative", _subparts=parts)
        )
        if files := [
            _attachment(each["filename"], each["content"].encode()) for each in mail.get("attachments", ())
        ]:
            whole = MIMEMultipart("mixed", _subparts=[whole, *files])
        now = self.world.clock()
        message_id = mail.get("message_id", f"<{self.mint(length=20)}@mail.example>")
        lines = [
            ("Received", f"by mx.sendgrid.net with ESMTP; {format_datetime(now)}"),
            *((name, value) for name, value in mail.get("headers", ())),
            ("Date", format_datetime(now)),
            ("From", mail["from"]),
            ("To", mail["to"]),
            *((("Cc", mail["cc"]),) if "cc" in mail else ()),
            ("Subject", mail["subject"]),
            *((("Message-ID", message_id),) if message_id else ()),
        ]
        head = "".join(
            f"{name}: {value if value.isascii() else _encoded(name, value)}\n" for name, value in lines
        )
        return head.encode() + whole.as_bytes()

    # ------------------------------------------------------------ webhooks

    def _post(self, told: Sequence[Record]) -> None:
        """Sends what happened in one batch."""
        if told:
            self.emit(self._batch("events", told))

    def _batch(self, topic: str, told: Sequence[Record]) -> Event:
        return Event(told[0]["sg_event_id"], topic, events_body([self._posted(each) for each in told]))

    def _posted(self, told: Record) -> Record:
        """An event as the webhook has it: custom arguments at the top, beside the vendor's own names."""
        hidden = {"custom_args", "date"} | (
            {"sg_message_id"} if told["sg_event_id"] in self._late_ids else set()
        )
        own = {name: value for name, value in told.items() if name not in hidden}
        return {**told["custom_args"], **own}

    def event_for(self, topic: str, object_id: str) -> Event:
        """`inbound` and its id; `events` and message ids with commas between (all theirs in one batch); or an event's
        name and a message's or event's id."""
        if topic == "inbound" and object_id in self.inbound:
            return self.inbound[object_id]
        if topic == "events":
            mails = [mail for id in object_id.split(",") for mail in self._mails_of(id.strip())]
            if told := [each for mail in mails for each in self._events[mail.sg_message_id]]:
                return self._batch(topic, told)
        for id, events in reversed(self._events.items()):
            for each in reversed(events):
                ids = (each["sg_event_id"], id, self.mails[id].message_id)
                if each["event"] == topic and object_id in ids:
                    return self._batch(topic, [each])
        raise NoSuchObjectError(f"sendgrid sends no {topic!r} about {object_id!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """ECDSA over time stamp and raw body, of a batch and of a form alike; without a secret nothing is signed."""
        is_form = event.topic == "inbound"
        headers = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}" if is_form else "application/json",
            "User-Agent": "Sendlib/1.0 practice" if is_form else "SendGrid Event API",
        }
        if secret:
            timestamp = str(int(self._now_s()))
            if not self.habits.signs_retries_anew:
                timestamp = self._timestamps.setdefault(event.id, timestamp)
            key = key_of(secret, "parse" if is_form else "event")
            signature = key.sign(signed_bytes(timestamp, event.payload), ec.ECDSA(hashes.SHA256()))
            headers[SIGNATURE_HEADER] = base64.b64encode(signature).decode()
            headers[TIMESTAMP_HEADER] = timestamp
        return Delivery(headers, event.payload)


# ---------------------------------------------------------------- a mail read


def _merged(name: str, body: Record, person: Record) -> dict[str, str]:
    """What stands for one person goes before what stands for all."""
    return {**body.get(name, {}), **person.get(name, {})}


def _is_on(settings: Record, name: str) -> bool:
    value = settings.get(name)
    return isinstance(value, dict) and value.get("enable") is True


def _has_string_arguments(body: Record) -> bool:
    """Anything else in them is refused without a word about it."""
    people = body.get("personalizations")
    places = [body, *(people if isinstance(people, list) else ())]
    arguments = [each.get("custom_args", {}) for each in places if isinstance(each, dict)]
    return all(isinstance(v, str) for each in arguments if isinstance(each, dict) for v in each.values())


def _problems(body: Record, now_s: float, *, is_strict: bool) -> Iterator[Record]:
    """Everything that is wrong with a mail; the first kind of trouble hides what builds upon it."""
    if wrong := list(_wrong_types(body, _MESSAGE, "", is_strict=is_strict)):
        yield from wrong
        return
    people = body.get("personalizations", [])
    if not people:
        yield problem(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
    elif len(people) > RECIPIENTS_MOST:
        yield problem("The personalization block is limited to 1000 personalizations per API request.", "personalizations")  # fmt: skip
    for index, person in enumerate(people):
        yield from _person_problems(person, index, is_strict=is_strict)
    if "from" not in body:
        yield problem("The from object must be provided for every email send.", "from.email")
    else:
        yield from _address_problems(body["from"], "from")
    if "reply_to" in body:
        yield from _address_problems(body["reply_to"], "reply_to")
    if "reply_to" in body and "reply_to_list" in body:
        yield problem("Use either reply_to or reply_to_list, not both.", "reply_to_list")
    has_subjects = all(isinstance(each, dict) and each.get("subject") for each in people)
    if not body.get("subject") and not (people and has_subjects):
        yield problem("The subject is required.", "subject")
    yield from _content_problems(body)
    yield from _header_problems(body.get("headers", {}), "headers")
    yield from _label_problems(body)
    yield from _setting_problems(body, now_s)


def _mistyped(value: Any, expected: str, where: str) -> Record:
    return problem(f"Invalid type. Expected: {expected}, given: {_TYPES.get(type(value), 'null')}.", where)


def _wrong_types(data: Record, known: Mapping[str, str], where: str, *, is_strict: bool) -> Iterator[Record]:
    for name, value in data.items():
        if name in known and _TYPES.get(type(value)) != known[name]:
            yield _mistyped(value, known[name], where + name)
        elif name not in known and is_strict:
            yield problem(f"Additional property {name} is not allowed", where + name)


def _person_problems(person: Any, index: int, *, is_strict: bool) -> Iterator[Record]:
    where = f"personalizations.{index}"
    if not isinstance(person, dict):
        yield _mistyped(person, "object", where)
        return
    if wrong := list(_wrong_types(person, _PERSON, f"{where}.", is_strict=is_strict)):
        yield from wrong
        return
    if not person.get("to"):
        yield problem(
            "The to array is required for all personalization objects, and must have at least one email object with a valid email address.",
            f"{where}.to",
        )
    seen: set[str] = set()
    for field in ("to", "cc", "bcc"):
        for at, each in enumerate(person.get(field, ())):
            yield from _address_problems(each, f"{where}.{field}.{at}")
            address = str(each.get("email")).lower() if isinstance(each, dict) else ""
            if address and address in seen:
                yield problem(
                    f"Each email address in the personalization block should be unique between to, cc, and bcc. We found the first duplicate instance of [{address}] in the {where}.{field} field.",
                    where,
                )
            seen.add(address)
    if len(seen) > RECIPIENTS_MOST:
        yield problem("There is a limit of 1000 total recipients (to + cc + bcc) per request.", where)
    if "from" in person:
        yield from _address_problems(person["from"], f"{where}.from")
    yield from _header_problems(person.get("headers", {}), f"{where}.headers")
    yield from _argument_problems(person.get("custom_args", {}), f"{where}.custom_args")


def _address_problems(entry: Any, where: str) -> Iterator[Record]:
    if not isinstance(entry, dict):
        yield _mistyped(entry, "object", where)
        return
    email = entry.get("email")
    if email is None or email == "":
        name = next((each for each in reversed(where.split(".")) if not each.isdecimal()), "")
        yield problem(f"The {name} email parameter is required.", f"{where}.email")
    elif not isinstance(email, str):
        yield _mistyped(email, "string", f"{where}.email")
    elif not _ADDRESS.fullmatch(email):
        yield problem("Does not contain a valid address.", f"{where}.email")


def _content_problems(body: Record) -> Iterator[Record]:
    """A template would spare the content, yet the practice account has none."""
    if "template_id" in body:
        yield problem("The template_id must be a valid template of this account.", "template_id")
    blocks = body.get("content", [])
    if not blocks:
        yield problem(
            "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined content block.",
            "content",
        )
    kinds = []
    for at, each in enumerate(blocks):
        block = each if isinstance(each, dict) else {}
        kinds.append(str(block.get("type")))
        for name in ("type", "value"):
            if not isinstance(block.get(name), str) or not block[name]:
                yield problem(
                    f"The content {name} must be a string at least one character in length.",
                    f"content.{at}.{name}",
                )
    expected = sorted(kinds, key=lambda kind: {"text/plain": 0, "text/html": 1}.get(kind, 2))
    if kinds != expected or len(set(kinds)) != len(kinds):
        yield problem("text/plain must come first, then text/html, each once.", "content")


def _header_problems(headers: Record, where: str) -> Iterator[Record]:
    for name, value in headers.items():
        if name.lower() in _RESERVED:
            yield problem(f"The header {name} is reserved and cannot be set.", f"{where}.{name}")
        elif not isinstance(value, str):
            yield problem("The value of a header must be a string.", f"{where}.{name}")


def _argument_problems(arguments: Record, where: str) -> Iterator[Record]:
    if len(json.dumps(arguments, ensure_ascii=False).encode()) > ARGUMENTS_MOST:
        yield problem("The custom_args may not exceed 10,000 bytes.", where)


def _label_problems(body: Record) -> Iterator[Record]:
    categories = body.get("categories", [])
    if len(categories) > CATEGORIES_MOST or len({str(each) for each in categories}) != len(categories):
        yield problem("There may be ten categories at most, each once.", "categories")
    for at, each in enumerate(categories):
        if not isinstance(each, str) or not 1 <= len(each) <= CATEGORY_MOST:
            yield problem("A category is a string of at most 255 characters.", f"categories.{at}")
    yield from _argument_problems(body.get("custom_args", {}), "custom_args")


def _setting_problems(body: Record, now_s: float) -> Iterator[Record]:
    people = [each for each in body.get("personalizations", ()) if isinstance(each, dict)]
    if any(each.get("send_at", 0) > now_s + AHEAD_MOST_S for each in (body, *people)):
        yield problem("A send cannot be scheduled more than 72 hours in advance.", "send_at")
    if "batch_id" in body:
        yield problem("The batch_id is not one of this account.", "batch_id")
    settings = body.get("mail_settings", {})
    others = {bypass for _, bypass in _DROPS.values()}
    if _is_on(settings, _BYPASS_ALL) and any(_is_on(settings, each) for each in others):
        yield problem(f"{_BYPASS_ALL} cannot be combined with another bypass.", "mail_settings")
    group = body.get("asm", {}).get("group_id", 0)
    if isinstance(group, bool) or not isinstance(group, int) or ("asm" in body and group < 1):
        yield problem("The asm group_id must be an integer.", "asm.group_id")


# ---------------------------------------------------------------- searching

Term = tuple[str, str, str]


def _limit(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= FOUND_MOST:
        fail(f"limit must be between 1 and {FOUND_MOST}", field="limit")
    return value


def _read_terms(query: str, pattern: re.Pattern[str]) -> list[Term]:
    """Conditions joined by AND, as (field, operator, value as written)."""
    terms, at = [], 0
    while found := pattern.match(query, at):
        terms.append((found[1], found[2], found[3]))
        at = found.end()
        if at == len(query):
            return terms
        if not query.startswith("AND", at):
            break
        at += len("AND")
    fail("invalid query", field="query")


def _read_log_query(query: str) -> list[Term]:
    terms = _read_terms(query, _LOG_TERM)
    for field, operator, value in terms:
        if operator not in _LOG_OPERATORS.get(field, ()) or value.startswith("(") != (operator == "IN"):
            fail(f"invalid query: {field} {operator}", field="query")
        if field == "sg_message_id_created_at":
            _moment(value)
    return terms


def _values(written: str) -> list[str]:
    """A doubled quote stands for one; the vendor does not say how else to write it."""
    return [each[1:-1].replace("''", "'") for each in re.findall(_TEXT, written)]


def _moment(written: str) -> datetime:
    try:
        moment = datetime.fromisoformat(written[1:-1])
    except ValueError:
        fail("invalid query: not a time", field="query")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _fits(mail: Mail, events: Sequence[Record], terms: Iterable[Term]) -> bool:
    return all(_fits_term(_summary(mail, events), mail, *term) for term in terms)


def _fits_term(summary: Record, mail: Mail, field: str, operator: str, written: str) -> bool:
    if operator == "=":
        return bool(summary[field] == _values(written)[0])
    if operator == "IN":
        has = mail.categories if field == "categories" else [summary[field]]
        return any(each in has for each in _values(written))
    compare = {">": gt, "<": lt, ">=": ge, "<=": le}[operator]
    return bool(compare(mail.at, _moment(written)))


def _status(events: Sequence[Record]) -> str:
    """The last word on the delivery; whatever a reader does comes after it."""
    last = events[-1]
    if last["event"] == "bounce":
        return "bounced" if last["type"] == "bounce" else "blocked"
    return _STATUSES.get(last["event"], "delivered")


def _summary(mail: Mail, events: Sequence[Record]) -> Record:
    reason = next((each["reason"] for each in reversed(events) if "reason" in each), "")
    return {
        "from_email": mail.sender,
        "sg_message_id": mail.sg_message_id,
        "subject": mail.subject,
        "to_email": mail.recipient,
        "reason": reason,
        "status": _status(events),
        "sg_message_id_created_at": _stamp(mail.at),
    }


def _activity(mail: Mail, events: Sequence[Record]) -> Record:
    status = _status(events)
    known = {"delivered": "delivered", "processed": "processed", "deferred": "processed"}
    return {
        "from_email": mail.sender,
        "msg_id": mail.sg_message_id,
        "subject": mail.subject,
        "to_email": mail.recipient,
        "status": known.get(status, "not_delivered"),
        "opens_count": sum(each["event"] == "open" for each in events),
        "clicks_count": sum(each["event"] == "click" for each in events),
        "last_event_time": _stamp(datetime.fromtimestamp(events[-1]["timestamp"], UTC)),
    }


def _is_active(mail: Mail, events: Sequence[Record], terms: Iterable[Term]) -> bool:
    """Whether every condition of an Email Activity query holds; here a custom argument can be asked for."""
    shown = _activity(mail, events)
    for field, operator, written in terms:
        value = written[1:-1]
        if field.startswith("unique_args["):
            has = mail.arguments.get(field[len("unique_args['") : -len("']")])
        elif field in ("msg_id", "from_email", "to_email", "subject", "status"):
            has = shown[field]
        else:
            fail(f"invalid query: {field}", field="query")
        if operator == "LIKE":
            parts = (re.escape(each) for each in value.split("%"))
            if has is None or not re.fullmatch(".*".join(parts), has):
                return False
        elif has != value:
            return False
    return True


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _address(call: Call) -> str:
    return unquote(call.ids["email"]).lower()


# ---------------------------------------------------------------- forms


def _encoded(name: str, value: str) -> str:
    """A header line in ASCII. Of an address only the display name is written as encoded words (RFC 2047, section 5)."""
    display, address = parseaddr(value)
    if name in ("From", "To", "Cc") and address.isascii() and "@" in address:
        return f"{Header(display, 'utf-8').encode()} <{address}>"
    return Header(value, "utf-8").encode()


def _attachment(filename: str, content: bytes) -> MIMEApplication:
    part = MIMEApplication(content)
    part.add_header("Content-Disposition", "attachment", filename=filename)
    return part


def _form(fields: Sequence[tuple[str, bytes]], files: Sequence[Record]) -> bytes:
    """multipart/form-data with every field in the charset it came in, and each attachment as a file."""
    about = {}
    parts = [(f'name="{name}"', value) for name, value in fields]
    for number, each in enumerate(files, 1):
        name, filename, kind = f"attachment{number}", each["filename"], each.get("type", "application/pdf")
        about[name] = {"filename": filename, "name": filename, "type": kind}
        head = f'name="{name}"; filename="{filename}"\r\nContent-Type: {kind}'
        parts.append((head, each["content"].encode()))
    if about:
        parts.append(('name="attachment-info"', json.dumps(about).encode()))
    lead = f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
    whole = (f"{lead}{head}\r\n\r\n".encode() + value + b"\r\n" for head, value in parts)
    return b"".join(whole) + f"--{BOUNDARY}--\r\n".encode()
