"""Mailgun: e-mail to customers, what became of it, and mail that customers write. Tells; moves no money.

Messages API v3 and Events API v3, described by the vendor's OpenAPI 3.1 in mailgun/mailgun-mcp-server 78d610f (read
2026-11-23); webhooks and routes, described at https://documentation.mailgun.com (read 2026-11-25). HTTP Basic, user `api`, with
an account key: a domain's sending key may send and not look up.

Quirks
- Nothing keeps a repeated call from sending twice. The `Idempotency-Key` of the vendor's Python SDK is an ordinary mail
  header that the server does not read. Our reference travels as a `Message-Id` and as user variables, and a send whose
  answer was lost is looked up in the events.
- That a `Message-Id` of ours is kept is nowhere promised, so the look filters by recipient only and recognises our
  message by either mark.
- 200 means queued, also for an address that Mailgun has suppressed: then it drops the mail, and an event says so. Whether a mail
  arrived is told by events too; a bounce can come days later.
- A 5xx answer may belong to a message that is sent all the same.
- Events appear seconds to minutes late, and are kept for one to thirty days, by plan.
- User variables can be read by whoever gets the e-mail (`X-Mailgun-Variables`): they hold our keys and nothing else.
- The region of the domain decides the host; the other host answers 401 or 404.
- A delivery's signature covers a time and a token, not the body: whoever saw one could sign anything with it. So a token counts
  once (it is the event's id here), and nothing that a delivery says is believed further than a claim.
- Whether a repeated delivery is signed anew is not told. It goes on for eight hours: as long an old signature holds, and one that
  was signed anew comes as a second event, which finds its work done.
- Mailgun tells SPF and DKIM without a domain, as headers that anybody can write. They count above the first `Received` only, and
  only where the domains that they can have been about agree with the From line.
- A route should end in `store(notify=…)`: `forward` posts the attachments along, and a body that is too large is lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.parser import BytesParser
from email.utils import parseaddr
from itertools import takewhile
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

from refundflow.connectors.base import Capability, Health, Idempotency, Operation, Spec
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import opened_at
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MailReceived,
    MalformedError,
    MessageSeen,
    MessageStatus,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, sign_hex, split_secrets

_DOC: Final = "https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun"

SPEC: Final = Spec(
    platform="mailgun",
    api_version="v3",
    base_url="https://api.mailgun.net",
    operations={
        Capability.SEND_MESSAGE: Operation(
            "POST /v3/{domain_name}/messages", Idempotency.LOOKUP, f"{_DOC}/messages"
        ),
        Capability.CHECK: Operation("GET /v3/{domain_name}/events", Idempotency.READ, f"{_DOC}/events"),
        Capability.INBOUND: Operation(
            "HMAC over timestamp and token",
            Idempotency.READ,
            "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
        ),
    },
    # The vendor's limits depend on the plan and are not published; a shop's cancellations stay far below this.
    rate_per_s=10.0,
    burst=20,
    redact=frozenset(
        {
            "from",
            "h:reply-to",
            "html",
            "recipient",
            "recipients",
            "sender",
            "subject",
            "targets",
            "text",
            "to",
        }
    ),
)

_EU_URL: Final = "https://api.eu.mailgun.net"

#: How long every plan keeps events at least; a mail sent longer ago may have left no trace.
_KEPT_S: Final = 24 * 3600.0
#: Events are indexed seconds to minutes after the send; an absence sooner than this proves nothing.
_SETTLED_S: Final = 300.0

#: Our clock and the vendor's differ; the look starts this much before the case was opened.
_CLOCK_MARGIN_S: Final = 600

#: A recipient with more than three thousand events since the case opened is nobody's customer.
_MAX_PAGES: Final = 10


_NO_SECRET: Final = Secret("")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A sending domain. `api_key`: an account key (a sending key cannot look up what it sent); `sender`: the From line,
    `Shop <orders@mg.shop.example>`; `region`: us | eu; `base_url`: instead of the region's host, for rehearsals.
    `webhook_signing_key`: the account's HTTP signing key (another one than the API's); without it deliveries are refused.
    """

    domain: str
    api_key: Secret
    sender: str
    region: str = "us"
    base_url: str = ""
    webhook_signing_key: Secret = _NO_SECRET

    @property
    def inbound(self) -> MailgunInbound:
        """The reader of this account's deliveries."""
        return MailgunInbound(
            self.webhook_signing_key, self.domain.lower(), parseaddr(self.sender)[1].lower()
        )


def build(credentials: Credentials, wire: Wire) -> Mailgun:
    """The connector on a wire. Raises ValueError for a region that Mailgun does not have."""
    return Mailgun(
        wire.http(
            platform=SPEC.platform,
            base_url=credentials.base_url or host_of(credentials.region),
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            auth=("api", credentials.api_key.reveal()),
            redact=SPEC.redact,
        ),
        credentials.domain.lower(),
        credentials.sender,
    )


def host_of(region: str) -> str:
    match region:
        case "us":
            return SPEC.base_url
        case "eu":
            return _EU_URL
        case _:
            raise ValueError(f"a Mailgun region is 'us' or 'eu', not {region!r}")


@dataclass(frozen=True, slots=True)
class Mailgun:
    """One sending domain. `sender`: the From line."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    domain: str
    sender: str

    def check(self) -> Health:
        """Reads one event: the very permission that a look-up needs."""
        return read_health(self.http.send(check_request(self.domain)), self.domain)

    def send_message(self, command: SendMessage) -> Outcome:
        match message_request(command, self.domain, self.sender):
            case Request() as request:
                return read_message(self.http.send(request), self.domain)
            case refusal:
                return refusal

    def find_send_message(self, command: SendMessage) -> Found:
        """Whether the events of this recipient know the message.

        Whether the recipient filter minds capitals is not told, so an address with capitals is looked for in both ways.
        """
        events: list[Mapping[str, Any]] = []
        for recipient in dict.fromkeys((command.to, command.to.lower())):
            match self._events(events_request(command, self.domain, recipient)):
                case Unknown() as trouble:
                    return trouble
                case found:
                    events += found
        return read_found(events, command, self.domain)

    def _events(self, request: Request) -> list[Mapping[str, Any]] | Unknown:
        """All events of a range: the next page is asked for until one is empty, as the vendor describes."""
        events: list[Mapping[str, Any]] = []
        for _ in range(_MAX_PAGES):
            match read_page(self.http.send(request), self.domain):
                case Unknown() as trouble:
                    return trouble
                case [], _:
                    return events
                case items, next_path:
                    events += items
                    request = Request("GET", next_path, "mailgun.find_send_message")
        return Unknown(f"more than {_MAX_PAGES} pages of events for one recipient")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def check_request(domain: str) -> Request:
    return Request(
        "GET", f"/v3/{domain}/events", "mailgun.check", params=(("ascending", "no"), ("limit", "1"))
    )


def message_request(command: SendMessage, domain: str, sender: str) -> Request | Permanent:
    """One message to one recipient: several in one call would read each other's address."""
    if not re.fullmatch(r"[^\s,;<>@]+@[^\s,;<>@]+", command.to):
        return Permanent("invalid_recipient", "the message is not addressed to exactly one e-mail address")
    bodies = (("text", command.text), ("html", command.html))
    return Request(
        "POST",
        f"/v3/{domain}/messages",
        "mailgun.send_message",
        form=(
            ("from", sender),
            ("to", command.to),
            ("subject", command.subject),
            *((name, body) for name, body in bodies if body),
            ("h:Message-Id", f"<{message_id(command, domain)}>"),
            ("h:Auto-Submitted", "auto-generated"),  # RFC 3834: out-of-office replies stay away
            ("v:rf_op", command.step_key),
            ("v:rf_key", command.key),
            ("o:tag", command.template),
            ("o:tracking", "no"),
        ),
    )


def message_id(command: SendMessage, domain: str) -> str:
    """The same for every try with one key, so that receivers can drop a double; another one after a definite no."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '.', command.key)}@{domain}"


def events_request(command: SendMessage, domain: str, recipient: str) -> Request:
    """What happened to mail for this recipient since the case was opened."""
    begin = max(0, opened_at(command.step_key) - _CLOCK_MARGIN_S)
    return Request(
        "GET",
        f"/v3/{domain}/events",
        "mailgun.find_send_message",
        params=(("begin", str(begin)), ("ascending", "yes"), ("limit", "300"), ("recipient", recipient)),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_message(response: Response, domain: str) -> Outcome:
    match response.status, response.json:
        case 200, {"id": str(reference)} if reference.strip("<>"):
            return Done(reference.strip("<>"), "queued")
        case 400, {"message": str(why)}:
            return Permanent("invalid_message", why)
        case 401 | 403, _:
            return Retryable("unauthorised", f"Mailgun refused the key for {domain}: {_KEY_ADVICE}")
        case 404, {"message": str(why)}:
            return Permanent("not_found", f"{why} (is {domain} a domain of this account and region?)")
        case 413, _:
            return Permanent("too_large", "Mailgun takes no message of this size")
        case 429, _:
            return Retryable("throttled", "Mailgun asks us to slow down", response.retry_after_s)
        case _:
            return unreadable(response)


_KEY_ADVICE: Final = "give an account API key of the region that the domain is in (a domain's sending key cannot look up what it sent)"


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Mailgun, status {response.status}")


def read_page(response: Response, domain: str) -> tuple[list[Mapping[str, Any]], str] | Unknown:
    """One page of events and the path of the next one. After a send, a look that failed says nothing about the effect,
    whatever its status.
    """
    match response.status, response.json:
        case 200, {"items": []}:
            return [], ""
        case 200, {"items": list(items), "paging": {"next": str(url)}}:
            # Only the path is taken from the answer: our key never follows an address that somebody sent us.
            _, mark, rest = url.partition(f"/v3/{domain}/events")
            if rest.startswith(("/", "?")) and all(isinstance(item, dict) for item in items):
                return items, mark + rest
            return Unknown("Mailgun answered with events or a next page that cannot be read")
        case 401 | 403, _:
            return Unknown(f"Mailgun did not let us look for the message: {_KEY_ADVICE}")
        case 429, _:
            return Unknown("Mailgun asks us to slow down, so the look for the message has to wait")
        case _:
            return unreadable(response)


def read_found(events: Iterable[Mapping[str, Any]], command: SendMessage, domain: str) -> Found:
    """What the events say about our message. A permanent failure beats everything else, because it is the later word."""
    ours = list(marked(events, command, domain))
    for event in ours:
        match event:
            case {"event": "failed", "severity": "permanent"} if suppression := suppression_of(event):
                return Permanent("suppressed", suppression)
            case {"event": "failed", "severity": "permanent"}:
                return Permanent("bounced", f"the message cannot be delivered: {told(event)}")
            case {"event": "rejected"}:
                return Permanent("rejected", f"Mailgun did not take the message: {told(event)}")
    for event in ours:
        match event:
            case {"event": str(name)} if name in _TAKEN:
                return Done(id_of(event) or message_id(command, domain), name)
            case {"event": "failed", "severity": "temporary"}:
                return Done(
                    id_of(event) or message_id(command, domain), "accepted; delivery is being retried"
                )
    if ours:
        return Unknown(f"Mailgun knows the message and says only {ours[0].get('event')!r} about it")
    return NotFound(_SETTLED_S, "no event of Mailgun carries our reference", _KEPT_S)


#: Events that only a message which Mailgun took can have.
_TAKEN: Final = frozenset({"accepted", "delivered", "opened", "clicked", "complained", "unsubscribed"})


def marked(
    events: Iterable[Mapping[str, Any]], command: SendMessage, domain: str
) -> Iterator[Mapping[str, Any]]:
    """The events of our message. One that was sent under an earlier key of the same step ended in a definite no (it
    bounced, and a person let it go again): it is another message.
    """
    for event in events:
        match event.get("user-variables"):
            case {"rf_op": command.step_key, "rf_key": str(key)}:
                is_ours = key == command.key
            case {"rf_op": command.step_key}:
                is_ours = True
            case _:
                is_ours = id_of(event) == message_id(command, domain)
        if is_ours:
            yield event


def id_of(event: Mapping[str, Any]) -> str:
    match event:
        case {"message": {"headers": {"message-id": str(reference)}}}:
            return reference.strip("<>")
        case _:
            return ""


def suppression_of(event: Mapping[str, Any]) -> str:
    """Why Mailgun sends nothing to this address, where that is why a message failed; "" for every other failure."""
    match event.get("reason"):
        case str() as reason if reason.startswith("suppress-"):
            why = SUPPRESSIONS.get(reason, "it is on one of Mailgun's lists")
            return f"Mailgun sends nothing to this address: {why}"
        case _:
            return ""


#: Reasons of a failure that stem from Mailgun's own lists: the next message would be dropped as well.
SUPPRESSIONS: Final[Mapping[str, str]] = {
    "suppress-bounce": "an earlier message bounced (the domain's list of bounces)",
    "suppress-complaint": "its owner called a message spam (the domain's list of complaints)",
    "suppress-unsubscribe": "its owner unsubscribed (the domain's list of unsubscribes)",
}


def told(event: Mapping[str, Any]) -> str:
    """Mailgun's own words for why a message failed, without the address that mail servers like to quote."""
    match event:
        case {"reject": {"reason": str(why)}}:
            words = why
        case {"delivery-status": {"code": int(code), **status}}:
            words = f"{code} {status.get('description') or status.get('message') or ''}".strip()
        case {"reason": str(why)}:
            words = why
        case _:
            words = "no reason given"
    return re.sub(r"\S+@\S+", "(address)", words)[:300]


def read_health(response: Response, domain: str) -> Health:
    match response.status, response.json:
        case 200, {"items": list()}:
            return Health(True, f"Mailgun domain {domain} answers")
        case 401 | 403, _:
            return Health(False, f"Mailgun refused the key for {domain}: {_KEY_ADVICE}")
        case 404, _:
            return Health(False, f"Mailgun does not know {domain} here: check the domain and its region")
        case status, _:
            return Health(False, f"Mailgun answered with status {status}")


# ---------------------------------------------------------------------------------------------------------------------
# Deliveries: events of our messages, and mail that somebody wrote

#: Topics. An event's has its name behind it.
MAIL: Final = "route"
EVENT: Final = "event."

#: Mailgun repeats a delivery for eight hours, perhaps with its first signature.
_OLDEST_S: Final = 9 * 3600.0
#: Our clock and the vendor's differ.
_AHEAD_S: Final = 300.0

_MAIL_CHARS: Final = 1_048_576
#: Of a form that is read before its signature is known to be good.
_MOST_PARTS: Final = 1_000

#: What events say of a message; a failure says it only where it is for good. All others (accepted, opened, …) change nothing.
STATUSES: Final[Mapping[str, MessageStatus]] = {
    "delivered": MessageStatus.DELIVERED,
    "failed": MessageStatus.BOUNCED,
    "rejected": MessageStatus.BOUNCED,
    "complained": MessageStatus.COMPLAINED,
    "unsubscribed": MessageStatus.OPTED_OUT,
}

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class MailgunInbound:
    """One address for event webhooks (JSON) and for routes (a form, or multipart where there are attachments).

    `signing_key`: the account's HTTP signing key; several, separated by commas, hold while one is replaced by another. `domain`,
    `own_address`: the sending domain and the From address, by which a mail of our own that came back is known.
    """

    platform: ClassVar[str] = SPEC.platform
    signing_key: Secret
    domain: str = ""
    own_address: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """The signature stands in the body, so that is taken apart first. What is signed is the time and, right behind it, the
        token: a digit that moved from one to the other would make a time that nobody takes for a present one.
        """
        keys = split_secrets(self.signing_key.reveal())
        if not keys:
            return Refused("no HTTP signing key is set")
        topic, signature = read_signature(delivery.body)
        timestamp, token = (str(signature.get(name, "")) for name in ("timestamp", "token"))
        if not re.fullmatch(r"[0-9]{10}", timestamp) or not re.fullmatch(r"[A-Za-z0-9]{20,200}", token):
            return Refused("the signature is missing or cannot be read")
        # An event of a subaccount is signed by its parent account too.
        given = [signature.get(name) for name in ("signature", "parent-signature")]
        offered = [each for each in given if isinstance(each, str) and re.fullmatch(r"[0-9a-f]{64}", each)]
        if not is_any([sign_hex(key, f"{timestamp}{token}".encode()) for key in keys], offered):
            return Refused("the signature does not match")
        if not -_AHEAD_S <= now.timestamp() - int(timestamp) <= _OLDEST_S:
            return Refused(f"the signature is older than the {_OLDEST_S / 3600:.0f} hours of repeats")
        return Verified(token, topic)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event of ours, or a mail's sender, cannot be read."""
        return read_mail(body, self.domain, self.own_address) if topic == MAIL else read_webhook(body)


def read_signature(body: bytes) -> tuple[str, Mapping[str, Any]]:
    """The topic, and the fields of the signature as they came: from an event's JSON, or from a form."""
    match parse_json(body):
        case {"signature": dict(signature), **rest}:
            match rest.get("event-data"):
                case {"event": str(name)} if re.fullmatch(r"[a-z_]{1,40}", name):
                    return f"{EVENT}{name}", signature
                case _:
                    return f"{EVENT}unknown", signature
        case None:
            return MAIL, read_form(body)[0]
        case _:
            return "", {}


def read_webhook(body: bytes) -> MessageSeen | Irrelevant:
    match parse_json(body):
        case {"event-data": {"event": str(name)} as event}:
            pass
        case _:
            raise MalformedError("event-data.event", "is missing")
    match event.get("user-variables"):
        case {"rf_op": str(step_key)} if re.fullmatch(r"[A-Za-z0-9._-]{1,200}", step_key):
            pass
        case _:
            return Irrelevant("about no message of ours")
    if name not in STATUSES:
        return Irrelevant(f"whether the message arrives is told by other words than {name!r:.40}")
    if name == "failed":
        match event.get("severity"):
            case "temporary":
                return Irrelevant("delivery is being retried")
            case "permanent":
                pass
            case _:
                raise MalformedError("event-data.severity", "is neither permanent nor temporary")
    why = suppression_of(event) or told(event) if STATUSES[name] is MessageStatus.BOUNCED else ""
    return MessageSeen(SPEC.platform, step_key, STATUSES[name], one_line(why))


# ---------------------------------------------------------------------------------------------------------------------
# Mail that somebody wrote. Nothing in it can be trusted, so what cannot be read is left out.

_FROM: Final = re.compile(
    r"""\s*(?:(?P<name>"(?:[^"\\]|\\.)*"|[^<>@,;:"]*)\s*<\s*(?P<angled>[^\s<>@,;:()"]+@[^\s<>@,;:()"]+)\s*>"""
    r"""|(?P<plain>[^\s<>@,;:()"]+@[^\s<>@,;:()"]+))\s*""",
)
_ANY_ADDRESS: Final = re.compile(r"[^\s<>@,;:()\"]{1,64}@[^\s<>@,;:()\"]{1,255}")
_ANGLED: Final = re.compile(rf"<({_ANY_ADDRESS.pattern})>")
_DOMAIN: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")

#: Headers that only machines and lists write, whatever they say.
_MACHINE_HEADERS: Final = (
    "X-Autoreply",
    "X-Autorespond",
    "X-Autoresponder",
    "List-Id",
    "List-Unsubscribe",
    "List-Post",
    "List-Help",
    "X-Refundflow-Loop",
)
_MACHINE_PRECEDENCE: Final = frozenset({"bulk", "junk", "list", "auto_reply"})
_MACHINE_SENDERS: Final = frozenset({"mailer-daemon", "postmaster", "no-reply", "noreply"})


def read_mail(body: bytes, domain: str, own_address: str) -> MailReceived:
    """One mail as a route posts it. The sender is read from the From header as it was sent: once encoded words are decoded, a
    display name can look like an address.
    """
    fields, is_clean = read_form(body)
    if "body-plain" not in fields:
        raise MalformedError("body-plain", "is missing (a route's address must not end in mime)")
    headers = read_headers(fields)
    froms = values(headers, "From") or ([fields["from"]] if "from" in fields else [])
    sender, name, is_clear = read_from(one_line(froms[0]) if froms else "")
    ids = values(headers, "Message-Id") or [fields.get("Message-Id", "")]
    subjects = [fields["subject"]] if "subject" in fields else values(headers, "Subject")
    text = plain(fields.get("stripped-text", "")) or plain(fields.get("body-plain", ""))
    returns_to = fields.get("sender")
    return MailReceived(
        message_id=one_line(ids[0]).strip("<> ") or f"sha256:{hashlib.sha256(body).hexdigest()}",
        sender=sender,
        subject=one_line(unfold(one_line(subjects[0]))) if subjects else "",
        text=text[:_MAIL_CHARS],
        sender_name=one_line(unfold(name)),
        is_authenticated=is_clean
        and is_clear
        and len(froms) == 1
        and is_proven(sender, returns_to or "", headers),
        is_automatic=is_machine(headers, sender, returns_to) or is_own(sender, domain, own_address),
    )


def read_form(body: bytes) -> tuple[dict[str, str], bool]:
    """The text fields by name, files left out, and whether those that tell who wrote are there once: a sender who could write fields
    of his own would write them again. Which kind of form it is, and its boundary, is told by how the body begins, because a stored
    delivery is read without its headers.
    """
    first, _, rest = body.partition(b"\r\n")
    pairs = (
        [field for part in rest.split(b"\r\n" + first, _MOST_PARTS) if (field := _read_part(part))]
        if re.fullmatch(rb"--[\x21-\x7e]{1,70}", first)
        else parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    )
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    names = [name for name, _ in pairs]
    return fields, all(names.count(name) <= 1 for name in ("from", "sender", "message-headers"))


def _read_part(part: bytes) -> tuple[str, str] | None:
    """One part of a multipart form; None for a file and for what is no part. Only its own headers are parsed: a file can be a mail
    with parts in parts.
    """
    message = BytesParser().parsebytes(part.removeprefix(b"\r\n"), headersonly=True)
    name = message.get_param("name", header="Content-Disposition")
    value = message.get_payload(decode=True)
    if not isinstance(name, str) or not isinstance(value, bytes) or message.get_filename() is not None:
        return None
    return name, value.decode("utf-8", "replace")


def read_headers(fields: Mapping[str, str]) -> Headers:
    """The mail's headers in their order. Where they cannot be read: the form's own fields, some of which are named after headers;
    their order means nothing, so there is no `Received` among them.
    """
    match parse_json(fields.get("message-headers", "").encode("utf-8", "replace")):
        case [_, *_] as pairs:
            return [(name, value) for name, value in map(_read_header, pairs) if name]
        case _:
            return [(name, value) for name, value in fields.items() if name.lower() != "received"]


def _read_header(pair: Any) -> tuple[str, str]:
    match pair:
        case [str(name), str(value)]:
            return name, value
        case _:
            return "", ""


def values(headers: Headers, name: str) -> list[str]:
    """All headers of a name, as they were sent."""
    return [value for each, value in headers if each.lower() == name.lower()]


def read_from(header: str) -> tuple[str, str, bool]:
    """The address in lower case, the display name, and whether the line is clear: one address, where it belongs. Raises
    MalformedError where there is no address at all.
    """
    if found := _FROM.fullmatch(header):
        name = found["name"] or ""
        if name.startswith('"'):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        return (found["angled"] or found["plain"]).lower(), name.strip(), True
    addresses = _ANGLED.findall(header) or _ANY_ADDRESS.findall(header)
    if addresses:
        return str(addresses[-1]).lower(), "", False
    raise MalformedError("from", "names no address")


def is_proven(sender: str, returns_to: str, headers: Headers) -> bool:
    """Whether SPF or DKIM passed for a domain that speaks for the sender's (DMARC's alignment).

    SPF is about the envelope's sender. DKIM's result does not say which signature held, so every one must be of such a domain,
    and none may leave a part of the body out (`l=`).
    """
    domain = sender.rpartition("@")[2]
    top = list(takewhile(lambda header: header[0].lower() != "received", headers))
    if len(top) == len(headers):
        return False  # no mark of where the sender's own headers begin
    if _passes(top, "X-Mailgun-Spf") and is_aligned(_domain_of(returns_to), domain):
        return True
    signatures = [_tags(signature) for signature in values(headers, "DKIM-Signature")]
    return (
        _passes(top, "X-Mailgun-Dkim-Check-Result")
        and bool(signatures)
        and all(is_aligned(tags.get("d", ""), domain) and "l" not in tags for tags in signatures)
    )


def _passes(top: Headers, name: str) -> bool:
    return [value.strip().lower() for value in values(top, name)] == ["pass"]


def _domain_of(address: str) -> str:
    return address.strip("<> ").rpartition("@")[2].lower()


def _tags(signature: str) -> dict[str, str]:
    """The tags of a DKIM-Signature; one that is there twice counts as none."""
    pairs = [part.partition("=") for part in signature.split(";")]
    names = [name.strip().lower() for name, _, _ in pairs]
    return {
        name: re.sub(r"\s", "", value).lower()
        for name, (_, _, value) in zip(names, pairs, strict=True)
        if names.count(name) == 1 or name == "l"
    }


def is_aligned(proven: str, domain: str) -> bool:
    """A domain speaks for itself and for what is below it. Not for what is above: without a list of public suffixes,
    `mallory.host.example` would speak for all other customers of `host.example`.
    """
    return _DOMAIN.fullmatch(proven) is not None and (domain == proven or domain.endswith(f".{proven}"))


def is_machine(headers: Headers, sender: str, returns_to: str | None) -> bool:
    """Whether a machine wrote it: such a mail asks for nothing, and an answer to it could go in circles."""
    words = {
        name: [value.partition(";")[0].strip().lower() for value in values(headers, name)]
        for name in ("Auto-Submitted", "Precedence", "X-Auto-Response-Suppress", "Content-Type")
    }
    asks_for_silence = {w.strip() for value in words["X-Auto-Response-Suppress"] for w in value.split(",")}
    return (
        any(word != "no" for word in words["Auto-Submitted"])
        or any(values(headers, name) for name in _MACHINE_HEADERS)
        or not _MACHINE_PRECEDENCE.isdisjoint(words["Precedence"])
        or not asks_for_silence.isdisjoint({"all", "autoreply", "oof"})
        or "multipart/report" in words["Content-Type"]
        or (returns_to is not None and not returns_to.strip("<> "))
        or sender.partition("@")[0] in _MACHINE_SENDERS
    )


def is_own(sender: str, domain: str, own_address: str) -> bool:
    """Whether a mail claims to be ours: it came back, or somebody plays us. Neither is a customer's request."""
    return sender == own_address or sender.rpartition("@")[2] == domain


def unfold(header: str) -> str:
    """A header's text with its encoded words (RFC 2047) decoded."""
    try:
        parts = decode_header(header)
    except (HeaderParseError, ValueError):
        return header
    return "".join(part if isinstance(part, str) else _decode(part, charset) for part, charset in parts)


def _decode(raw: bytes, charset: str | None) -> str:
    """The text, whatever its charset is called; what does not fit becomes a replacement mark."""
    try:
        return raw.decode(charset or "latin-1", "replace")
    except (LookupError, ValueError):
        return raw.decode("utf-8", "replace")


def plain(text: str) -> str:
    """Text that can be stored and shown: lines end with LF, and other control characters and halves of characters are gone."""
    lined = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", lined).strip()


def one_line(text: str) -> str:
    return " ".join(plain(text).split())[:998]
