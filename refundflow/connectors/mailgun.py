"""Mailgun: e-mail to customers. Tells; moves no money.

Messages API v3 and Events API v3, described by the vendor's OpenAPI 3.1 in mailgun/mailgun-mcp-server 78d610f (read
2026-11-23). HTTP Basic, user `api`, with an account key: a domain's sending key may send and not look up.

Quirks
- Nothing keeps a repeated call from sending twice. The `Idempotency-Key` of the vendor's Python SDK is an ordinary mail
  header that the server does not read. Our reference travels as a `Message-Id` and as user variables, and a send whose
  answer was lost is looked up in the events.
- That a `Message-Id` of ours is kept is nowhere promised, so the look filters by recipient only and recognises our
  message by either mark.
- 200 means queued. Whether it arrived is told by events; a bounce can come days later.
- A 5xx answer may belong to a message that is sent all the same.
- Events appear seconds to minutes late, and are kept for one to thirty days, by plan.
- User variables can be read by whoever gets the e-mail (`X-Mailgun-Variables`): they hold our keys and nothing else.
- The region of the domain decides the host; the other host answers 401 or 404.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from refundflow.connectors.base import Capability, Health, Idempotency, Operation, Spec
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import opened_at
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire

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
    """

    domain: str
    api_key: Secret
    sender: str
    region: str = "us"
    base_url: str = ""
    webhook_signing_key: Secret = _NO_SECRET


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
