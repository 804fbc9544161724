"""Practice Mailgun: sending, events, suppressions, domains and stored messages under `/mailgun/`, and its two kinds of webhook.

Messages, events and suppressions v3, domains v3 and v4. Shapes: the vendor's own OpenAPI description (API 3.0.0) and
https://documentation.mailgun.com, read 2026-11-23. Where they are silent, `Habits` names the practised reading.

Strict about: Basic `api:<key>` (the sending key cannot read), forms (JSON is no form), addresses, values of `o:` options, the
16 KB of options, the 300 of `limit`, a direction for a time range with an open end. Nothing here is idempotent: a second
call sends a second mail, also with the same Message-Id. Events show late, by `Habits.events_delay_s`.

`seed({"domains"?: [{"name", "state"?}], "suppressions"?: [{"list": "bounces" | "complaints" | "unsubscribes", "address",
"domain"?, "code"?, "error"?, "tags"?}], "bouncing"?: [address], "inbound"?: [mail], "habits"?: {…}})`; a mail is
`{"recipient", "from", "subject", "body-plain", "sender"?, "spf"?, "dkim"?, "headers"?: [[name, value]], "Message-Id"?,
"files"?: [{"name", "type", "content"}]}`; one with files is posted as multipart, as `forward()` does it.

`settle` takes `{"message": "<id>", "event": "delivered" | "failed" | "complained" | …, "severity"?}` (what became of a mail) or
`{"inbound": mail}` (somebody writes: stored, and sent to whoever subscribed). A slow_pending fault leaves a mail accepted
until then; late_failure lets it bounce afterwards.

Book, a line for each recipient: `send_message`, `test_message` (test mode: nothing left the house), `drop_message` (the address
is suppressed). `reference` is the user variable `rf_op`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from email.parser import BytesParser
from email.utils import format_datetime, getaddresses, parsedate_to_datetime
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlencode

from refundflow.sandbox.base import (
    Answer,
    Call,
    Delivery,
    Event,
    Kind,
    NoSuchObjectError,
    Record,
    RefusalError,
    Route,
    Vendor,
    World,
)

API_KEY: Final = "practice-mailgun-key"
SENDING_KEY: Final = "practice-mailgun-sending-key"
DOMAIN: Final = "mg.practice.example"

OPTIONS_MOST: Final = 16 * 1024
BODY_MOST: Final = 25 * 1024 * 1024
VARIABLE_MOST: Final = 4 * 1024
PAGE_SIZE: Final = 100
PAGE_SIZE_MOST: Final = 300

_ADDRESS: Final = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\".]+(\.[^\s@<>,;\".]+)+")
_WITHIN: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?")
_YES_NO: Final = ("yes", "no", "true", "false")
_OPTION_VALUES: Final = {
    **dict.fromkeys(("o:dkim", "o:require-tls", "o:skip-verification", "o:tracking-opens"), _YES_NO),
    **dict.fromkeys(("o:tracking", "o:tracking-clicks"), (*_YES_NO, "htmlonly")),
    "o:testmode": ("yes",),
}
_LISTS: Final = ("bounces", "complaints", "unsubscribes")
_EVENTS: Final = (
    "accepted",
    "delivered",
    "failed",
    "rejected",
    "clicked",
    "opened",
    "unsubscribed",
    "complained",
)
_LEVELS: Final = {
    "accepted": "info",
    "delivered": "info",
    "failed": "error",
    "rejected": "error",
    "complained": "warn",
}
_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or promises loosely.

    `events_delay_s`: how long after it happened an event can be found. `retention_s`: how long it can be found at all.
    `keeps_message_id`: whether a `h:Message-Id` of the sender's is used. `signs_retries_anew`: whether each try of a
    webhook has its own time stamp and token.
    """

    events_delay_s: float = 0.0
    retention_s: int = 3 * 86_400
    keeps_message_id: bool = True
    signs_retries_anew: bool = True


@dataclass(frozen=True, slots=True)
class Mail:
    """One recipient's copy of a message. `message_id`: without angle brackets."""

    domain: str
    message_id: str
    recipient: str
    sender: str
    to: str
    subject: str
    size: int
    variables: dict[str, str]
    tags: list[str]
    storage_key: str
    is_test: bool


def fail(message: str, status: int = 400) -> NoReturn:
    """Ends the call with the vendor's JSON error."""
    raise RefusalError(Answer(status, {"message": message}))


def signature_of(secret: str, timestamp: str, token: str) -> str:
    """A webhook's signature, in hex: over time stamp and token alone."""
    return hmac.new(secret.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()


class Mailgun(Vendor):
    """See the module's docstring."""

    name: ClassVar[str] = "mailgun"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        domain = "/v3/{domain}"
        self._routes = (
            Route("GET", "/v3/domains/{domain}", "get_domain", self._get_domain),
            Route("GET", "/v4/domains/{domain}", "get_domain", self._get_domain),
            Route("GET", "/v3/domains/{domain}/messages/{key}", "get_stored_message", self._get_stored),
            Route("POST", f"{domain}/messages", "send_message", self._send),
            Route("GET", f"{domain}/events", "list_events", self._list_events),
            Route("GET", f"{domain}/events/{{page}}", "list_events", self._list_events),
            *(
                Route("GET", f"{domain}/{each}/{{address}}", f"get_{each}", self._get_suppression)
                for each in _LISTS
            ),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.domains = {DOMAIN: "active"}
        self.suppressions: dict[tuple[str, str, str], Record] = {}
        self.bouncing: set[str] = set()
        self.mails: dict[str, list[Mail]] = {}
        self.stored: dict[str, Record] = {}
        self.inbound: dict[str, Event] = {}
        self._events: list[Record] = []
        self._domain_of: dict[str, str] = {}
        self._signatures: dict[str, Record] = {}

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            for each in data.get("domains", ()):
                self.domains[each["name"]] = each.get("state", "active")
            self.bouncing |= {address.lower() for address in data.get("bouncing", ())}
            for each in data.get("suppressions", ()):
                if each["list"] not in _LISTS:
                    raise ValueError(f"cannot seed mailgun: no list {each['list']!r}")
                self._suppress(each["list"], each.get("domain", DOMAIN), each["address"], each)
            inbound = [self._receive(each).id for each in data.get("inbound", ())]
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed mailgun: {wrong!r}") from wrong
        return {"domains": sorted(self.domains), "inbound": inbound}

    def settle(self, data: Record) -> Record:
        match data:
            case {"message": str(message_id), "event": str(kind)} if kind in _EVENTS:
                mails = self.mails.get(message_id.strip("<>"))
                if not mails:
                    raise NoSuchObjectError(f"mailgun sent no message {message_id!r}")
                told = [
                    self._happen(mail, kind, severity=data.get("severity", "permanent")) for mail in mails
                ]
                return {"message": message_id, "event": kind, "ids": [each["id"] for each in told]}
            case {"inbound": dict(mail)}:
                try:
                    event = self._receive(mail)
                except KeyError as missing:
                    raise ValueError(f"an inbound mail needs {missing}") from missing
                self.emit(event)
                return {"inbound": event.id}
            case _:
                raise ValueError('mailgun settles {"message": …, "event": …} or {"inbound": {…}}')

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """User `api` with a key; the sending key opens nothing but sending."""
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        try:
            user, _, key = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = key = ""
        keys = (API_KEY, SENDING_KEY) if call.operation == "send_message" else (API_KEY,)
        is_known = scheme.lower() == "basic" and user == "api" and key in keys
        return None if is_known else self.unauthorised(call)

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(401, "Forbidden", content_type="text/plain; charset=utf-8")

    def refuse(self, call: Call) -> Answer:
        """The fault's `code` is the message."""
        message = call.fault.code if call.fault is not None else ""
        return Answer(
            400, {"message": message or "to parameter is not a valid address. please check documentation"}
        )

    def not_found(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return Answer(404, "404 page not found", content_type="text/plain; charset=utf-8")

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        return {"message": "Too many requests" if status == 429 else "Internal Server Error"}

    # ------------------------------------------------------------ sending

    def _send(self, call: Call) -> Answer:
        domain = self._domain(call)
        if self.domains[domain] != "active":
            fail(f"Domain {domain} is not allowed to send: it is {self.domains[domain]}", 403)
        if len(call.body) > BODY_MOST:
            fail("The message is larger than 25 MB", 413)
        form = _read_form(call)
        sender, recipients = _check_addresses(form)
        _check_content(form)
        _check_options(form)
        headers = {name[2:].lower(): value for name, value in form if name.lower().startswith("h:")}
        variables = {name[2:]: value for name, value in form if name.startswith("v:")}
        message_id = self._message_id(domain, headers.get("message-id", ""))
        storage_key = self.mint("practice.", 40)
        is_test = _first(form, "o:testmode") == "yes"
        self._store(storage_key, domain, form, message_id)
        for recipient in recipients:
            mail = Mail(
                domain,
                message_id,
                recipient,
                sender,
                _first(form, "to"),
                _first(form, "subject"),
                len(call.body),
                variables,
                [value for name, value in form if name == "o:tag"],
                storage_key,
                is_test,
            )
            self.mails.setdefault(message_id, []).append(mail)
            self._carry(call, mail, form)
        return Answer(200, {"id": f"<{message_id}>", "message": "Queued. Thank you."})

    def _carry(self, call: Call, mail: Mail, form: Sequence[tuple[str, str]]) -> None:
        """Queues one recipient's copy, and what becomes of it."""
        self._happen(mail, "accepted")
        reason = next(
            (each for each in _LISTS if (each, mail.domain, mail.recipient.lower()) in self.suppressions),
            None,
        )
        effect = "drop_message" if reason else "test_message" if mail.is_test else "send_message"
        self.book.write(
            effect,
            id=mail.message_id,
            target={"domain": mail.domain, "recipient": mail.recipient},
            reference=mail.variables.get("rf_op"),
            recipient=mail.recipient,
            subject=mail.subject,
            text=_first(form, "text"),
            message_id=f"<{mail.message_id}>",
            rf_op=mail.variables.get("rf_op"),
            tags=mail.tags,
        )
        if reason:
            self._happen(mail, "failed", reason=f"suppress-{reason.removesuffix('s')}", code=605)
        elif call.has(Kind.SLOW_PENDING):
            return
        elif mail.recipient.lower() in self.bouncing and not mail.is_test:
            self._happen(mail, "failed")
        else:
            self._happen(mail, "delivered")
            if call.has(Kind.LATE_FAILURE):
                self.late.append(lambda: self._happen(mail, "failed"))

    def _message_id(self, domain: str, asked: str) -> str:
        """The sender's own Message-Id where it is one, else a fresh one; without angle brackets."""
        wanted = asked.strip().removeprefix("<").removesuffix(">")
        if self.habits.keeps_message_id and re.fullmatch(r"[^\s<>@]+@[^\s<>@]+", wanted):
            return wanted
        return f"{self.world.clock():%Y%m%d%H%M%S}.1.{self.mint(length=16).upper()}@{domain}"

    # ------------------------------------------------------------ what becomes of a mail

    def _happen(
        self, mail: Mail, kind: str, *, severity: str = "permanent", reason: str = "", code: int = 0
    ) -> Record:
        """Notes an event, tells whoever subscribed, and suppresses an address that bounced or complained."""
        told: Record = {
            "id": self.mint(length=22),
            "event": kind,
            "timestamp": self.world.clock().timestamp(),
            "log-level": _LEVELS.get(kind, "info"),
            "recipient": mail.recipient,
            "recipient-domain": mail.recipient.rpartition("@")[2],
            "envelope": {"sender": mail.sender, "targets": mail.recipient, "transport": "smtp"},
            "message": {
                "headers": {
                    "message-id": mail.message_id,
                    "from": mail.sender,
                    "to": mail.to,
                    "subject": mail.subject,
                },
                "attachments": [],
                "size": mail.size,
            },
            "flags": {"is-authenticated": True, "is-routed": False, "is-test-mode": mail.is_test},
            "tags": mail.tags,
            "user-variables": {name: value[:VARIABLE_MOST] for name, value in mail.variables.items()},
            "storage": {
                "key": mail.storage_key,
                "url": f"https://storage.api.mailgun.net/v3/domains/{mail.domain}/messages/{mail.storage_key}",
            },
        }
        match kind:
            case "delivered":
                told["delivery-status"] = {"code": 250, "attempt-no": 1, "message": "OK", "description": ""}
            case "failed":
                told["severity"] = severity
                told["reason"] = reason or ("bounce" if severity == "permanent" else "generic")
                told["delivery-status"] = {
                    "code": code or (550 if severity == "permanent" else 451),
                    "attempt-no": 1,
                    "message": "Not delivering to a suppressed address" if reason else "No such mailbox",
                    "description": "",
                }
                if severity == "permanent" and not reason:
                    self._suppress("bounces", mail.domain, mail.recipient, {"error": "No such mailbox"})
            case "complained":
                self._suppress("complaints", mail.domain, mail.recipient, {})
        self._events.append(told)
        self._domain_of[told["id"]] = mail.domain
        self.emit(Event(told["id"], _topic(told), told))
        return told

    def _suppress(self, name: str, domain: str, address: str, data: Record) -> None:
        entry: Record = {"address": address, "created_at": format_datetime(self.world.clock(), usegmt=True)}
        if name == "bounces":
            entry |= {"code": str(data.get("code", "550")), "error": data.get("error", "No such mailbox")}
        if name == "unsubscribes":
            entry["tags"] = data.get("tags", ["*"])
        self.suppressions[name, domain, address.lower()] = entry

    # ------------------------------------------------------------ reading

    def _get_domain(self, call: Call) -> Answer:
        domain = self._domain(call)
        return Answer(
            200,
            {
                "domain": {
                    "name": domain,
                    "state": self.domains[domain],
                    "type": "custom",
                    "is_disabled": False,
                },
                "receiving_dns_records": [],
                "sending_dns_records": [],
            },
        )

    def _get_suppression(self, call: Call) -> Answer:
        domain = self._domain(call)
        name = call.operation.removeprefix("get_")
        entry = self.suppressions.get((name, domain, unquote(call.ids["address"]).lower()))
        if entry is None:
            fail(f"Address not found in {name} table", 404)
        return Answer(200, entry)

    def _get_stored(self, call: Call) -> Answer:
        stored = self.stored.get(call.ids["key"])
        if stored is None or stored["domain"] != self._domain(call):
            fail("Message not found", 404)
        return Answer(200, {name: value for name, value in stored.items() if name != "domain"})

    def _list_events(self, call: Call) -> Answer:
        """A page of events. Its `next` always leads on; an empty page is the end."""
        domain = self._domain(call)
        query, last = call.query, None
        if "page" in call.ids:
            query, last = _read_page(call.ids["page"])
        asked = dict(parse_qsl(query, keep_blank_values=True))
        limit = asked.get("limit", str(PAGE_SIZE))
        if not limit.isdigit() or not 1 <= int(limit) <= PAGE_SIZE_MOST:
            fail(f"limit must be between 1 and {PAGE_SIZE_MOST}")
        begin, end, is_ascending = _read_range(asked)
        now = self.world.clock().timestamp()
        newest = min(now - self.habits.events_delay_s, now if end is None else end)
        oldest = max(now - self.habits.retention_s, 0 if begin is None else begin)
        found = [
            each
            for each in self._events
            if self._domain_of[each["id"]] == domain
            and oldest <= each["timestamp"] <= newest
            and _is_wanted(each, asked)
        ]
        if not is_ascending:
            found.reverse()
        ids = [each["id"] for each in found]
        start = ids.index(last) + 1 if last in ids else 0
        items = found[start : start + int(limit)]
        where = f"{_base(call)}/v3/{domain}/events"
        following = _page(query, items[-1]["id"] if items else last)
        return Answer(
            200,
            {
                "items": items,
                "paging": {"next": f"{where}/{following}", "previous": f"{where}/{_page(query, None)}"},
            },
        )

    def _domain(self, call: Call) -> str:
        domain = call.ids["domain"].lower()
        if domain not in self.domains:
            fail(f"Domain not found: {domain}", 404)
        return domain

    # ------------------------------------------------------------ mail that comes in

    def _store(self, key: str, domain: str, form: Sequence[tuple[str, str]], message_id: str) -> None:
        text = _first(form, "text")
        self.stored[key] = {
            "domain": domain,
            "sender": _bare(_first(form, "from")),
            "recipients": _first(form, "to"),
            "from": _first(form, "from"),
            "From": _first(form, "from"),
            "To": _first(form, "to"),
            "subject": _first(form, "subject"),
            "Subject": _first(form, "subject"),
            "Message-Id": f"<{message_id}>",
            "body-plain": text,
            "stripped-text": text,
            "body-html": _first(form, "html"),
            "message-headers": [["Message-Id", f"<{message_id}>"], ["From", _first(form, "from")]],
            "attachments": [],
        }

    def _receive(self, mail: Record) -> Event:
        """Stores a mail that somebody wrote, with the headers that the vendor's own server puts on top. Raises KeyError."""
        recipient, sender, subject, text = (
            mail[name] for name in ("recipient", "from", "subject", "body-plain")
        )
        now = self.world.clock()
        message_id = mail.get("Message-Id", f"<{self.mint(length=20)}@mail.example>")
        headers = [
            ["X-Mailgun-Incoming", "Yes"],
            ["X-Mailgun-Spf", mail.get("spf", "Neutral")],
            ["X-Mailgun-Dkim-Check-Result", mail.get("dkim", "Fail")],
            ["Received", f"by mxa.mailgun.org with SMTP; {format_datetime(now)}"],
            *(list(each) for each in mail.get("headers", ())),
            ["Date", format_datetime(now)],
            ["From", sender],
            ["To", recipient],
            ["Subject", subject],
            ["Message-Id", message_id],
        ]
        key = self.mint("practice.", 40)
        fields: Record = {
            "recipient": recipient,
            "sender": mail.get("sender", _bare(sender)),
            "from": sender,
            "subject": subject,
            "body-plain": text,
            "stripped-text": mail.get("stripped-text", text),
            "stripped-signature": "",
            "Message-Id": message_id,
            "message-headers": headers,
        }
        domain = mail.get("domain", DOMAIN)
        self.stored[key] = {
            **fields,
            "domain": domain,
            "recipients": recipient,
            "From": sender,
            "To": recipient,
            "Subject": subject,
            "attachments": [],
        }
        url = f"https://storage.api.mailgun.net/v3/domains/{domain}/messages/{key}"
        told: Record = {**fields, "domain": domain, "message-url": url, "attachments": []}
        if files := mail.get("files"):
            told |= {"attachment-count": str(len(files)), "files": files}
        event = Event(key, "inbound", told)
        self.inbound[key] = event
        return event

    # ------------------------------------------------------------ webhooks

    def event_for(self, topic: str, object_id: str) -> Event:
        """`inbound` and a storage key; or a webhook's name (delivered, permanent_fail …) and a message's or event's id."""
        if topic == "inbound" and object_id in self.inbound:
            return self.inbound[object_id]
        wanted = object_id.strip("<>")
        for told in reversed(self._events):
            if wanted in (told["id"], told["message"]["headers"]["message-id"]) and _topic(told) == topic:
                return Event(told["id"], topic, told)
        raise NoSuchObjectError(f"mailgun sends no {topic!r} about {object_id!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:
        """HMAC-SHA256 over time stamp and token, not over the body: JSON for events, a form for mail that came in.

        An inbound form to an address that ends in `mime` has the whole mail as `body-mime` and not its parts.
        """
        signature = self._sign(event, secret)
        if event.topic == "inbound":
            told = _as_mime(event.body) if url.rstrip("/").endswith("mime") else dict(event.body)
            files = told.pop("files", [])
            texts = {
                name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()
            }
            if files:
                return _multipart({**texts, **signature}, files, self.mint(length=32))
            return Delivery({"Content-Type": _FORM}, urlencode({**texts, **signature}).encode())
        body = json.dumps({"signature": signature, "event-data": event.body}, ensure_ascii=False)
        return Delivery({"Content-Type": "application/json"}, body.encode())

    def _sign(self, event: Event, secret: str) -> Record:
        if not self.habits.signs_retries_anew and event.id in self._signatures:
            return self._signatures[event.id]
        at, token = str(int(self.world.clock().timestamp())), self.mint(length=50).lower()
        self._signatures[event.id] = {
            "timestamp": at,
            "token": token,
            "signature": signature_of(secret, at, token),
        }
        return self._signatures[event.id]


# ---------------------------------------------------------------- requests read


def _read_form(call: Call) -> list[tuple[str, str]]:
    """The fields in the order sent; of an attachment only its file name. Anything but a form has no fields."""
    match call.content_type:
        case "application/x-www-form-urlencoded":
            return call.form_pairs
        case "multipart/form-data":
            head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
            parts = BytesParser().parsebytes(head + call.body)
            return (
                [_part(each) for each in parts.get_payload() if not isinstance(each, str)]
                if parts.is_multipart()
                else []
            )
        case _:
            return []


def _part(part: Any) -> tuple[str, str]:
    name = part.get_param("name", "", header="content-disposition")
    if (filename := part.get_filename()) is not None:
        return name, filename
    raw: bytes = part.get_payload(decode=True)
    return name, raw.decode("utf-8", "replace")


def _first(form: Iterable[tuple[str, str]], name: str) -> str:
    return next((value for key, value in form if key == name), "")


def _bare(address: str) -> str:
    """The address alone, without the friendly name."""
    return getaddresses([address])[0][1]


def _check_addresses(form: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """The sender and every recipient once. Ends the call where one is missing or no address."""
    sender = _first(form, "from")
    if not sender.strip():
        fail("from parameter is missing")
    if not _ADDRESS.fullmatch(_bare(sender)):
        fail("from parameter is not a valid address. please check documentation")
    if not any(value.strip() for name, value in form if name == "to"):
        fail("to parameter is missing")
    recipients: dict[str, str] = {}
    for field in ("to", "cc", "bcc"):
        for _, address in getaddresses([value for name, value in form if name == field and value.strip()]):
            if not _ADDRESS.fullmatch(address):
                fail(f"{field} parameter is not a valid address. please check documentation")
            recipients.setdefault(address.lower(), address)
    return sender, list(recipients.values())


def _check_content(form: Sequence[tuple[str, str]]) -> None:
    has_template = bool(_first(form, "template"))
    if not has_template and not any(_first(form, name) for name in ("text", "html", "amp-html")):
        fail("Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified")
    if not has_template and not _first(form, "subject"):
        fail("subject parameter is missing")
    for name in ("t:variables", "recipient-variables"):
        value = _first(form, name)
        if value and not _is_json_object(value):
            fail(f"{name} parameter is not a valid JSON dictionary")


def _check_options(form: Sequence[tuple[str, str]]) -> None:
    size = sum(
        len(name.encode()) + len(value.encode())
        for name, value in form
        if name.lower().startswith(("o:", "h:", "v:", "t:"))
    )
    if size > OPTIONS_MOST:
        fail("Send options (parameters starting with o:, h:, v:, or t:) are limited to 16 KB in total")
    for name, value in form:
        if name in _OPTION_VALUES and value not in _OPTION_VALUES[name]:
            fail(f"{name} parameter must be one of {', '.join(_OPTION_VALUES[name])}")
        if name == "o:deliver-within" and not _is_within(value):
            fail("o:deliver-within parameter must be between 5m and 24h, such as 1h30m")


def _is_within(value: str) -> bool:
    found = _WITHIN.fullmatch(value)
    if not value or found is None:
        return False
    return 5 <= int(found[1] or 0) * 60 + int(found[2] or 0) <= 24 * 60


def _is_json_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False


# ---------------------------------------------------------------- events


def _topic(told: Record) -> str:
    """The webhook's name: a failure has one of two."""
    if told["event"] == "failed":
        return "permanent_fail" if told["severity"] == "permanent" else "temporary_fail"
    return str(told["event"])


def _read_range(asked: Record) -> tuple[float | None, float | None, bool]:
    """Begin and end (None: open) in time's own order, and whether the oldest comes first.

    Of two ends the first named is where the list begins. A begin alone needs a direction: without it the vendor's own words
    leave open which way the range goes, and a look-up that read the wrong half would say "never sent".
    """
    begin, end = _moment(asked, "begin"), _moment(asked, "end")
    direction = asked.get("ascending", "")
    if direction not in ("", *_YES_NO):
        fail("ascending must be yes or no")
    is_ascending = direction in ("yes", "true")
    if begin is not None and end is not None:
        if direction and is_ascending != (begin <= end):
            fail("ascending contradicts begin and end")
        return min(begin, end), max(begin, end), begin <= end
    if begin is not None:
        if not direction:
            fail("ascending must be provided where begin is and end is not")
        return (begin, None, True) if is_ascending else (None, begin, False)
    return None, end, is_ascending


def _moment(asked: Record, name: str) -> float | None:
    text = asked.get(name, "")
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        fail(f"{name} is not a valid time")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_wanted(told: Record, asked: Record) -> bool:
    headers = told["message"]["headers"]
    exact = {
        "event": told["event"],
        "message-id": headers["message-id"],
        "recipient": told["recipient"],
        "severity": told.get("severity", ""),
    }
    within = {name: headers[name] for name in ("from", "to", "subject")}
    return (
        all(value.lower() in _choices(asked[name]) for name, value in exact.items() if asked.get(name))
        and all(
            any(each in value.lower() for each in _choices(asked[name]))
            for name, value in within.items()
            if asked.get(name)
        )
        and (not asked.get("tags") or any(tag.lower() in _choices(asked["tags"]) for tag in told["tags"]))
    )


def _choices(expression: str) -> list[str]:
    """A filter's values: `accepted OR delivered`, quotes allowed."""
    return [each.strip().strip('"').lower() for each in expression.split(" OR ")]


def _as_mime(told: Record) -> Record:
    heads = "".join(f"{name}: {value}\r\n" for name, value in told["message-headers"])
    whole = f"{heads}\r\n{told['body-plain']}"
    return {
        **{name: told[name] for name in ("recipient", "sender", "from", "subject", "domain")},
        "body-mime": whole,
    }


def _multipart(fields: Record, files: Sequence[Record], boundary: str) -> Delivery:
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()
    ]
    parts += [
        f'Content-Disposition: form-data; name="attachment-{number}"; filename="{each["name"]}"\r\n'
        f"Content-Type: {each['type']}\r\n\r\n{each['content']}"
        for number, each in enumerate(files, 1)
    ]
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"
    return Delivery({"Content-Type": f"multipart/form-data; boundary={boundary}"}, body.encode())


def _page(query: str, last: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([query, last]).encode()).decode()


def _read_page(token: str) -> tuple[str, str | None]:
    try:
        page = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except ValueError:
        fail("Invalid page")
    match page:
        case [str(query), str() | None as last]:
            return query, last
        case _:
            fail("Invalid page")


def _base(call: Call) -> str:
    """Where the caller reached us, so that it can follow a page's address."""
    host = call.headers.get("host", "")
    return f"http://{host}/mailgun" if host else "https://api.mailgun.net"
