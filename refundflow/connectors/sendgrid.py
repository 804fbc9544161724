"""SendGrid: e-mail to customers, what became of it, and mail that customers write. Tells; moves no money.

Web API v3 (mail send, Email Logs, suppressions), Event Webhook and Inbound Parse, described by the vendor's OpenAPI 3.1 in
twilio/sendgrid-oai dbe0e0d and https://www.twilio.com/docs/sendgrid (read 2026-11-25). An API key as bearer; the EU's host is
https://api.eu.sendgrid.com.

Quirks
- Nothing keeps a repeated call from sending twice. Our reference travels as custom arguments, which come back in every event
  and log entry, and as a `Message-ID`, which nobody promises to keep. A send whose answer was lost is looked up in the logs.
- Logs cannot be asked for custom arguments: the recipient's messages are listed, and opened until one carries ours. How a
  quotation mark is written in a query is nowhere told, so for an address that has one absence proves nothing.
- Logs are not paged, mind capitals, and show a message only after its first event. The documentation keeps them for thirty
  days; users tell of three on small plans.
- 202 means queued and has no body. Whether the mail arrived is told by events, in any order and often several times; a
  bounce can come days later.
- A suppressed address gets 202 too, and the mail is dropped. The lists are read before a send, so that this is said at once;
  one that cannot be read holds no mail up, because SendGrid keeps to it anyway. A block (one refused mail) is no suppression.
- A 5xx answer may belong to a message that is sent all the same.
- Deliveries carry an ECDSA signature over time stamp and raw body, the line's end included. Each event webhook and each
  parse policy has a key of its own. Retries go on for a day (events) and three (mail), and whether they are signed anew is
  not told: so old signatures hold as long as that, and what comes twice is told by its id.
- Inbound Parse tells SPF without a domain (it is the envelope's) and DKIM by domain: neither is a word about the From line
  unless the domains agree.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses, mktime_tz, parseaddr, parsedate_tz
from typing import Any, ClassVar, Final
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from refundflow.connectors.base import Capability, Health, Idempotency, Operation, Spec
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import case_of, opened_at
from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    Irrelevant,
    MailReceived,
    MalformedError,
    MessageSeen,
    MessagesSeen,
    MessageStatus,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_fresh, split_secrets

_DOC: Final = "https://www.twilio.com/docs/sendgrid/api-reference"

SPEC: Final = Spec(
    platform="sendgrid",
    api_version="v3",
    base_url="https://api.sendgrid.com",
    operations={
        Capability.SEND_MESSAGE: Operation(
            "POST /v3/mail/send", Idempotency.LOOKUP, f"{_DOC}/mail-send/mail-send"
        ),
        Capability.CHECK: Operation(
            "GET /v3/scopes, POST /v3/logs", Idempotency.READ, f"{_DOC}/api-key-permissions"
        ),
        Capability.INBOUND: Operation(
            "X-Twilio-Email-Event-Webhook-Signature",
            Idempotency.READ,
            "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
        ),
    },
    # Sending is bounded by the plan, reads by a limit that is not published; one message takes five calls.
    rate_per_s=10.0,
    burst=20,
    redact=frozenset({"content", "subject"}),
)

#: The shortest time for which logs are said to be kept; a mail sent longer ago may have left no trace.
_KEPT_S: Final = 3 * 86_400.0
#: A message shows in the logs minutes after the send; an absence sooner than this proves nothing.
_SETTLED_S: Final = 300.0

#: Our clock and the vendor's differ; a message is looked at that is this much older than its case.
_CLOCK_MARGIN_S: Final = 600

#: Messages listed for one recipient, and how many of them are opened: more than one customer's cases can have.
_LISTED: Final = 200
_OPENED: Final = 20

#: A suppression list that does not answer soon is passed over.
_SUPPRESSION_S: Final = 5.0

_NO_SECRET: Final = Secret("")

_ADDRESS: Final = re.compile(r"[^\s,;<>@\"]+@[^\s,;<>@\"]+")

PublicKeys = tuple[ec.EllipticCurvePublicKey, ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key and a verified sender. `api_key`: needs `mail.send`; `read_key`: one of its own for logs and suppressions
    (`messages.read`, `suppression.read`), else `api_key` is used for them too; `sender`: the From line, `Shop <orders@shop.example>`;
    `reply_to`: where answers go, an address of the domain that Inbound Parse serves. `event_public_key`, `parse_public_key`: the
    keys that SendGrid shows for the event webhook's signature and for the security policy of Inbound Parse (base64; two with a
    comma between while one is replaced); without one, its deliveries are refused. `sandbox`: "yes" has SendGrid check every
    message and send none. `base_url`: for the EU and for rehearsals.
    """

    api_key: Secret
    sender: str
    reply_to: str = ""
    read_key: Secret = _NO_SECRET
    event_public_key: str = ""
    parse_public_key: str = ""
    sandbox: str = "no"
    base_url: str = SPEC.base_url

    def __post_init__(self) -> None:
        """Raises ValueError for settings that cannot work."""
        if len(getaddresses([self.sender])) != 1 or not _ADDRESS.fullmatch(parseaddr(self.sender)[1]):
            raise ValueError("sender is one address with or without a name, as in Shop <orders@shop.example>")
        if self.reply_to and not _ADDRESS.fullmatch(self.reply_to):
            raise ValueError("reply_to is one address without a name")
        if self.sandbox not in ("yes", "no"):
            raise ValueError(f"sandbox is yes or no, not {self.sandbox!r:.20}")
        for name in ("event_public_key", "parse_public_key"):
            if (keys := getattr(self, name)) and not read_keys(keys):
                raise ValueError(f"{name} is no public key (base64, elliptic curve P-256)")

    @property
    def inbound(self) -> SendGridInbound:
        """The reader of this account's deliveries."""
        return SendGridInbound(
            read_keys(self.event_public_key),
            read_keys(self.parse_public_key),
            parseaddr(self.sender)[1].lower(),
        )


def build(credentials: Credentials, wire: Wire) -> SendGrid:
    def http(key: Secret) -> Http:
        return wire.http(
            platform=SPEC.platform,
            base_url=credentials.base_url.rstrip("/"),
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            headers={"Authorization": f"Bearer {key.reveal()}"},
            redact=SPEC.redact,
        )

    sending = http(credentials.api_key)
    return SendGrid(
        sending,
        http(credentials.read_key) if credentials.read_key else sending,
        credentials.sender,
        credentials.reply_to,
        credentials.sandbox == "yes",
    )


@dataclass(frozen=True, slots=True)
class SendGrid:
    """One account. `reader`: with the key that reads logs and suppressions; `sender`: the From line."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    reader: Http
    sender: str
    reply_to: str = ""
    is_sandbox: bool = False

    def check(self) -> Health:
        """Asks what the key may do, then for one log entry: the very permission that a look-up needs."""
        scopes = read_scopes(self.http.send(scopes_request()))
        if not scopes.is_ok:
            return scopes
        return read_log_access(self.reader.send(log_access_request()), is_sandbox=self.is_sandbox)

    def send_message(self, command: SendMessage) -> Outcome:
        """Reads the suppression lists first: to an address on one of them nothing is sent."""
        match message_request(command, self.sender, self.reply_to, is_sandbox=self.is_sandbox):
            case Request() as request:
                pass
            case refusal:
                return refusal
        for suppression in SUPPRESSIONS:
            if is_listed(self.reader.send(suppression_request(suppression, command.to))):
                return Permanent("suppressed", SUPPRESSIONS[suppression])
        return read_message(self.http.send(request), is_sandbox=self.is_sandbox)

    def find_send_message(self, command: SendMessage) -> Found:
        """Whether the logs of this recipient have a message with our reference. Searches mind capitals, so an address with
        capitals is looked for in both ways.
        """
        if self.is_sandbox:
            return NotFound(0.0, "in sandbox mode nothing is ever sent, so it can be checked once more")
        listed: dict[str, Mapping[str, Any]] = {}
        is_cut = False
        for recipient in dict.fromkeys((command.to, command.to.lower())):
            match read_list(self.reader.send(list_request(recipient))):
                case Unknown() as trouble:
                    return trouble
                case messages:
                    listed |= {str(message["sg_message_id"]): message for message in messages}
                    is_cut = is_cut or len(messages) >= _LISTED
        ids = likeliest_first(listed, command)
        refusal: Permanent | None = None
        for id in ids[:_OPENED]:
            match read_entry(self.reader.send(entry_request(id)), id, command, self.sender):
                case NotFound():
                    continue
                case Permanent() as refused:
                    refusal = refused  # of two tries, one that got through counts
                case found:
                    return found
        if refusal is not None:
            return refusal
        if is_cut or len(ids) > _OPENED:
            return Unknown("the recipient has more messages in SendGrid's logs than can be looked through")
        if re.search(r"['\\]", command.to):
            return NotFound(None, "SendGrid does not tell how an address with a quotation mark is searched")
        return NotFound(_SETTLED_S, "no message in SendGrid's logs carries our reference", _KEPT_S)


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def scopes_request() -> Request:
    return Request("GET", "/v3/scopes", "sendgrid.check")


def log_access_request() -> Request:
    return Request("POST", "/v3/logs", "sendgrid.check", json={"limit": 1})


def message_request(
    command: SendMessage, sender: str, reply_to: str, *, is_sandbox: bool
) -> Request | Permanent:
    """One message to one recipient: several in one call would read each other's address."""
    if not _ADDRESS.fullmatch(command.to):
        return Permanent("invalid_recipient", "the message is not addressed to exactly one e-mail address")
    name, address = parseaddr(sender)
    bodies = (("text/plain", command.text), ("text/html", command.html))  # in this order, or it is refused
    return Request(
        "POST",
        "/v3/mail/send",
        "sendgrid.send_message",
        json={
            "personalizations": [
                {
                    "to": [{"email": command.to}],
                    # Whoever receives events of this account reads them: our keys and nothing else.
                    "custom_args": {
                        "rf_op": command.step_key,
                        "rf_key": command.key,
                        "rf_case": case_of(command.step_key),
                    },
                }
            ],
            "from": {"email": address, **({"name": name} if name else {})},
            **({"reply_to": {"email": reply_to}} if reply_to else {}),
            "subject": command.subject,
            "headers": {
                "Message-ID": f"<{message_id(command, sender)}>",
                # RFC 3834: out-of-office replies stay away, and a copy that comes back is known for ours.
                "Auto-Submitted": "auto-generated",
                "X-Auto-Response-Suppress": "All",
                _LOOP_HEADER: case_of(command.step_key),
            },
            "content": [{"type": kind, "value": body} for kind, body in bodies if body],
            "categories": [command.template],
            **({"mail_settings": {"sandbox_mode": {"enable": True}}} if is_sandbox else {}),
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
            },
        },
    )


def message_id(command: SendMessage, sender: str) -> str:
    """The same for every try with one key, so that receivers can drop a double; another one after a definite no."""
    domain = parseaddr(sender)[1].rpartition("@")[2].lower()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '.', command.key)}@{domain}"


def suppression_request(suppression: str, address: str) -> Request:
    return Request(
        "GET",
        f"/v3/{suppression}/{quote(address.lower(), safe='@')}",
        "sendgrid.send_message.suppressions",
        total_s=_SUPPRESSION_S,
    )


def list_request(recipient: str) -> Request:
    """The messages of one recipient. Not by subject: that one is told back as it was sent is not promised."""
    written = recipient.replace("'", "''")
    return Request(
        "POST",
        "/v3/logs",
        "sendgrid.find_send_message",
        json={"query": f"to_email='{written}'", "limit": _LISTED},
    )


def entry_request(id: str) -> Request:
    return Request("GET", f"/v3/logs/{quote(id, safe='')}", "sendgrid.find_send_message")


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def is_listed(response: Response) -> bool:
    """Whether a suppression list has the address: an entry says yes, everything else lets the message go."""
    match response.status, response.json:
        case 200, [{"email": str()}, *_]:
            return True
        case 200, {"recipient_email": str(address)}:
            return bool(address)
        case _:
            return False


def read_message(response: Response, *, is_sandbox: bool) -> Outcome:
    reference = response.headers.get("x-message-id", "")
    match response.status, response.json:
        case 202, _ if reference and not response.body.strip():
            return Done(reference, "accepted")
        case 200, _ if is_sandbox and not response.body.strip():
            return Done(reference, "sandbox mode: checked, and not sent")
        case 401 | 403, _:
            why = problems_of(response)
            return Retryable(
                "unauthorised", f"SendGrid refused the call{f' ({why})' if why else ''}: {_ADVICE}"
            )
        case 429, _:
            return Retryable("throttled", "SendGrid asks us to slow down", wait_s(response))
        case 413, _:
            return Permanent(*ERRORS[413])
        case status, {"errors": [_, *_]} if status in ERRORS:
            code, advice = ERRORS[status]
            return Permanent(code, f"{problems_of(response) or 'no reason given'} ({advice})")
        case _:
            return unreadable(response)


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from SendGrid, status {response.status}")


def problems_of(response: Response) -> str:
    """The vendor's own words, each with the field that it names."""
    match response.json:
        case {"errors": list(errors)}:
            return without_addresses("; ".join(problem for error in errors if (problem := _problem(error))))
        case _:
            return ""


def _problem(error: Any) -> str:
    match error:
        case {"message": str(message), "field": str(field)} if field:
            return f"{field}: {message}"
        case {"message": str(message)}:
            return message
        case _:
            return ""


def without_addresses(words: str) -> str:
    """A reason without the addresses that vendors and mail servers like to quote."""
    return re.sub(r"\S+@\S+", "(address)", words[:2000])[:300]


def wait_s(response: Response) -> float | None:
    """How long to wait: as the answer says, or until the time (epoch seconds) that it names, by its own clock."""
    if response.retry_after_s is not None:
        return response.retry_after_s
    reset = response.headers.get("x-ratelimit-reset", "")
    date = response.headers.get("date", "")
    if not re.fullmatch(r"[0-9]{1,12}", reset) or not re.fullmatch(
        r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", date
    ):
        return None
    now = parsedate_tz(date)
    wait = 0 if now is None else int(reset) - mktime_tz(now)
    return float(wait) if 0 < wait < 86_400 else None


def read_list(response: Response) -> list[Mapping[str, Any]] | Unknown:
    """Messages as the logs list them. After a send, a look that failed says nothing about the effect, whatever its status."""
    match response.status, response.json:
        case 200, {"messages": list(messages)} if all(
            isinstance(m, dict) and isinstance(m.get("sg_message_id"), str) and m["sg_message_id"]
            for m in messages
        ):
            return messages
        case _:
            return blind(response)


def blind(response: Response) -> Unknown:
    match response.status:
        case 401 | 403:
            return Unknown(f"SendGrid did not let us look for the message: {_READ_ADVICE}")
        case 429:
            return Unknown("SendGrid asks us to slow down, so the look for the message has to wait")
        case _:
            return unreadable(response)


def likeliest_first(listed: Mapping[str, Mapping[str, Any]], command: SendMessage) -> list[str]:
    """The ids of messages that can be ours: none that is older than the case, those with our subject first."""
    opened = opened_at(command.step_key)
    since = f"{datetime.fromtimestamp(max(0, opened - _CLOCK_MARGIN_S), UTC):%Y-%m-%dT%H:%M:%S}"
    young = [id for id, message in listed.items() if not _is_before(message, since)]
    return sorted(young, key=lambda id: listed[id].get("subject") != command.subject)


def _is_before(message: Mapping[str, Any], since: str) -> bool:
    """A time in another form than UTC is not judged: the message is opened."""
    stamp = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)",
        str(message.get("sg_message_id_created_at")),
    )
    return stamp is not None and stamp[1] < since


def read_entry(response: Response, id: str, command: SendMessage, sender: str) -> Found:
    """What one log entry says of our message; NotFound where it is another one."""
    match response.status, response.json:
        case 200, {"sg_message_id": str(shown), "status": str(status), "events": list(events), **rest} if (
            shown == id
        ):
            if not is_ours(rest.get("custom_args"), events, command, sender):
                return NotFound(_SETTLED_S)
            return read_status(status, id, events)
        case _:
            return blind(response)


def is_ours(arguments: Any, events: Iterable[Any], command: SendMessage, sender: str) -> bool:
    """One that was sent under an earlier key of the same step ended in a definite no (it bounced, and a person let it go
    again): it is another message.
    """
    told = [event for event in events if isinstance(event, dict)]
    for carried in (arguments, *(event.get("custom_args") for event in told)):
        match carried:
            case {"rf_op": command.step_key, "rf_key": str(key)}:
                return key == command.key
            case {"rf_op": op}:
                return bool(op == command.step_key)
    return any(str(event.get("smtp-id")).strip("<>") == message_id(command, sender) for event in told)


def read_status(status: str, id: str, events: Sequence[Any]) -> Outcome:
    why = why_of(events)
    match status:
        case "delivered":
            return Done(id, status)
        case "processed":
            return Done(id, "accepted")
        case "deferred":
            return Done(id, "accepted; delivery is being retried")
        case "bounced" | "blocked":
            return Permanent(status, f"the message cannot be delivered: {why}")
        case "dropped":
            code = "suppressed" if why.lower() in DROPPED_FOR_GOOD else "dropped"
            return Permanent(code, f"SendGrid did not send the message: {why}")
        case _:
            return Unknown(f"SendGrid knows the message and says only {status!r:.40} about it")


def why_of(events: Iterable[Any]) -> str:
    """The reason of the last event that has one."""
    reasons = [event["reason"] for event in events if isinstance(event, dict) and event.get("reason")]
    return without_addresses(str(reasons[-1])) if reasons else "no reason given"


def read_scopes(response: Response) -> Health:
    match response.status, response.json:
        case 200, {"scopes": list(scopes)} if "mail.send" in scopes:
            return Health(True, "the key may send")
        case 200, {"scopes": list()}:
            return Health(False, "the SendGrid key may not send: give it the scope mail.send")
        case 401 | 403, _:
            return Health(False, f"SendGrid refused the key: {_ADVICE}")
        case status, _:
            return Health(False, f"SendGrid answered with status {status}")


def read_log_access(response: Response, *, is_sandbox: bool) -> Health:
    match response.status, response.json:
        case 200, {"messages": list()}:
            rehearses = "; sandbox mode: messages are checked and not sent" if is_sandbox else ""
            return Health(True, f"SendGrid answers, and what was sent can be looked up{rehearses}")
        case 401 | 403, _:
            return Health(False, f"SendGrid would send, and does not let us look anything up: {_READ_ADVICE}")
        case status, _:
            return Health(False, f"SendGrid answered with status {status} when asked for its logs")


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's refusals and lists

_ADVICE: Final = "check REFUNDFLOW_SENDGRID_API_KEY, its scope mail.send, that the sender is verified, and that the region's host is used"
_READ_ADVICE: Final = "give a key that may read messages and suppressions (REFUNDFLOW_SENDGRID_READ_KEY)"

#: `POST /v3/mail/send`: statuses that are a definite no, with our code and what helps.
ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid_message", "SendGrid cannot take the message as it is"),
    404: ("not_found", "is base_url SendGrid's address?"),
    405: ("not_allowed", "is base_url SendGrid's address?"),
    413: ("too_large", "SendGrid takes no message of this size"),
}

#: Lists that keep SendGrid from sending, and what an entry means to people.
SUPPRESSIONS: Final[Mapping[str, str]] = {
    "suppression/bounces": "SendGrid sends nothing to this address: an earlier message bounced (its list of bounces)",
    "suppression/invalid_emails": "SendGrid sends nothing to this address: it is not a valid one (its list of invalid e-mails)",
    "suppression/spam_reports": "SendGrid sends nothing to this address: a message was reported as spam (its list of spam reports)",
    "asm/suppressions/global": "SendGrid sends nothing to this address: its owner unsubscribed (its list of global unsubscribes)",
}

#: Reasons of a `dropped` event that stem from those lists: the next message would be dropped as well.
DROPPED_FOR_GOOD: Final = frozenset(
    {"bounced address", "invalid", "spam reporting address", "unsubscribed address"}
)


# ---------------------------------------------------------------------------------------------------------------------
# Deliveries: events of our messages, and mail that somebody wrote

EVENTS: Final = "events"
MAIL: Final = "inbound_parse"

_SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
_TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"
#: As long as SendGrid repeats a delivery, and an hour: it may carry the signature of the first try.
_TOLERANCE_S: Final = {EVENTS: 25 * 3600.0, MAIL: 73 * 3600.0}

_LOOP_HEADER: Final = "X-Refundflow-Loop"
_MAIL_CHARS: Final = 1_048_576

#: What events say of a message; all others (processed, deferred, open, click, …) change nothing for us.
STATUSES: Final[Mapping[str, MessageStatus]] = {
    "delivered": MessageStatus.DELIVERED,
    "bounce": MessageStatus.BOUNCED,
    "dropped": MessageStatus.BOUNCED,
    "spamreport": MessageStatus.COMPLAINED,
    "unsubscribe": MessageStatus.OPTED_OUT,
    "group_unsubscribe": MessageStatus.OPTED_OUT,
}


@dataclass(frozen=True, slots=True)
class SendGridInbound:
    """One address for the event webhook and for Inbound Parse, told apart by their content types. `event_keys`, `parse_keys`:
    the public keys of each (none: its deliveries are refused, for nothing else proves them here); `sender`: our own address.
    """

    platform: ClassVar[str] = SPEC.platform
    event_keys: PublicKeys = ()
    parse_keys: PublicKeys = ()
    sender: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused | Greeting:
        """Any of the keys will do. ECDSA is checked with public values only, so its time tells no secret."""
        is_mail = media_type(delivery) == "multipart/form-data"
        keys = self.parse_keys if is_mail else self.event_keys
        if not keys:
            which = "Inbound Parse's security policy" if is_mail else "the event webhook"
            return Refused(f"no public key of {which} is set")
        timestamp = delivery.headers.get(_TIMESTAMP, "")
        if not re.fullmatch(r"[0-9]{1,12}", timestamp):
            return Refused("the signature's time is missing or cannot be read")
        if not is_signed(keys, delivery.headers.get(_SIGNATURE, ""), timestamp.encode() + delivery.body):
            return Refused("the signature does not match")
        topic = MAIL if is_mail else EVENTS
        if not is_fresh(int(timestamp), now, _TOLERANCE_S[topic]):
            return Refused(
                f"the signature is older than the {_TOLERANCE_S[topic] / 3600:.0f} hours of repeats"
            )
        if is_mail:
            return Verified(f"mail:{mail_digest(delivery.body)}", MAIL)
        match parse_json(delivery.body):
            case []:
                return Greeting("a batch without events")
            case list(events):
                return Verified(f"events:{events_digest(events)}", EVENTS)
            case _:
                return Refused("the body is no list of events")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event of ours, or a mail's form or sender, cannot be read."""
        return read_mail(body, self.sender) if topic == MAIL else read_events(body)


def media_type(delivery: Delivery) -> str:
    return delivery.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_keys(keys: str) -> PublicKeys:
    """The public keys of a comma-separated list (base64 of their SPKI form); empty where one of them is none."""
    read = [_read_key(key) for key in split_secrets(keys)]
    return tuple(key for key in read if key is not None) if None not in read else ()


def _read_key(key: str) -> ec.EllipticCurvePublicKey | None:
    try:
        public = load_der_public_key(base64.b64decode(re.sub(r"\s", "", key), validate=True))
    except (ValueError, UnsupportedAlgorithm):
        return None
    match public:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return public
        case _:
            return None


def is_signed(keys: PublicKeys, signature: str, message: bytes) -> bool:
    """`signature`: base64 of the DER form, as the header has it. `message`: time stamp and raw body, in this order."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    for key in keys:
        try:
            key.verify(raw, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            continue
        return True
    return False


def events_digest(events: Iterable[Any]) -> str:
    """The same for a batch that comes again, in whatever order. An event without an id stands for itself."""
    ids = sorted(_event_id(event) for event in events)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _event_id(event: Any) -> str:
    match event:
        case {"sg_event_id": str(id)} if id:
            return id
        case _:
            return json.dumps(event, sort_keys=True, default=str)


def read_events(body: bytes) -> MessagesSeen | Irrelevant:
    match parse_json(body):
        case list(events):
            pass
        case _:
            raise MalformedError("body", "is no list of events")
    seen = [said for index, event in enumerate(events) if (said := read_event_object(index, event))]
    return MessagesSeen(tuple(seen)) if seen else Irrelevant("no event says what became of a message of ours")


def read_event_object(index: int, event: Any) -> MessageSeen | None:
    """None for a message that is not ours, and for an event that changes nothing for us."""
    match event:
        case {"rf_op": str(step_key), "event": str(kind)} if step_key and kind in STATUSES:
            return MessageSeen(SPEC.platform, step_key, STATUSES[kind], _why(kind, event))
        case {"rf_op": str(step_key), "event": str()} if step_key:
            return None
        case {"rf_op": str(step_key)} if step_key:
            raise MalformedError(f"[{index}].event", "is not a text")
        case dict():
            return None
        case _:
            raise MalformedError(f"[{index}]", "is no event")


def _why(kind: str, event: Mapping[str, Any]) -> str:
    """The reason, where the event has one; `type` tells a refused mail (blocked) from a dead address (bounce)."""
    if kind not in ("bounce", "dropped"):
        return ""
    words = [event.get("type") if kind == "bounce" else kind, event.get("status"), event.get("reason")]
    return without_addresses(" ".join(word for word in words if isinstance(word, str) and word))


# ---------------------------------------------------------------------------------------------------------------------
# Mail that somebody wrote

#: The fields that make a mail what it is; SendGrid's findings about it (spam score, checks) are not among them.
_IDENTITY: Final = ("envelope", "headers", "from", "to", "subject", "text", "html", "email")

_FROM: Final = re.compile(
    r"""\s*(?:(?P<name>"(?:[^"\\]|\\.)*"|[^<>@,;:"]*)\s*<\s*(?P<angled>[^\s<>@,;:()"]+@[^\s<>@,;:()"]+)\s*>"""
    r"""|(?P<plain>[^\s<>@,;:()"]+@[^\s<>@,;:()"]+))\s*""",
)
_ANY_ADDRESS: Final = re.compile(r"[^\s<>@,;:()\"]{1,64}@[^\s<>@,;:()\"]{1,255}")
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
    _LOOP_HEADER,
)
_MACHINE_PRECEDENCE: Final = frozenset({"bulk", "junk", "list", "auto_reply"})
_MACHINE_SENDERS: Final = frozenset({"mailer-daemon", "postmaster", "no-reply", "noreply"})


def read_mail(body: bytes, own_address: str) -> MailReceived:
    """One mail as Inbound Parse posts it, in fields or (`send_raw`) as a whole. The sender is read from the From header as it
    was sent: once encoded words are decoded, a display name can look like an address.
    """
    form = read_form(body)
    if form is None:
        raise MalformedError("body", "is no form")
    charsets = parse_json(form.get("charsets", b""))

    def field(name: str) -> str:
        charset = charsets.get(name) if isinstance(charsets, dict) else None
        return decode(form.get(name, b""), charset if isinstance(charset, str) else "utf-8")

    sources = [parse(form[n].lstrip(b"\r\n") + b"\n\n") for n in ("headers", "email") if n in form]
    whole = sources[-1] if sources else Message()
    froms = [one_line(value) for source in sources for value in values(source, "From")]
    # Some mailers encode the whole line, address and all: then SendGrid's reading of it has to do, and proves nothing.
    is_told = bool(froms) and "@" in froms[0]
    sender, name, is_clear = read_from(froms[0] if is_told else one_line(field("from")))
    envelope = parse_json(form.get("envelope", b""))
    returns_to = envelope.get("from") if isinstance(envelope, dict) else None
    ids = values(whole, "Message-ID")
    subjects = [field("subject")] if "subject" in form else values(whole, "Subject")
    signatures = [value for source in sources for value in values(source, "DKIM-Signature")]
    return MailReceived(
        message_id=one_line(ids[0]).strip("<>") if ids else f"sha256:{mail_digest(body)}",
        sender=sender,
        subject=one_line(unfold(one_line(subjects[0]))) if subjects else "",
        text=plain(field("text").strip() or text_of(field("html")) or body_of(whole))[:_MAIL_CHARS],
        sender_name=one_line(unfold(name)),
        # One From line, told in the same words wherever it is told.
        is_authenticated=is_told
        and is_clear
        and len(froms) == len(sources)
        and len(set(froms)) == 1
        and is_proven(sender, field("SPF"), field("dkim"), returns_to, signatures),
        is_automatic=is_machine(whole, sender, own_address, returns_to),
    )


def read_form(body: bytes) -> dict[str, bytes] | None:
    """The text fields of multipart/form-data by name, files left out; None where it is no form. The boundary is what the body
    begins with, because a stored delivery is read without its headers.

    SendGrid's boundary never changes, so a mail's text could write it and add fields of its own. A field that is there twice, or
    anything behind the end, costs the form its findings about the sender (SPF, dkim).
    """
    first = body.partition(b"\r\n")[0].rstrip()
    if not re.fullmatch(rb"--[\x21-\x7e]{1,70}", first) or b'"' in first or b"\\" in first:
        return None
    whole = parse(b'Content-Type: multipart/form-data; boundary="' + first[2:] + b'"\r\n\r\n' + body)
    parts = whole.get_payload()
    form: dict[str, bytes] = {}
    is_clean = not (whole.epilogue or "").strip()
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, Message) or part.is_multipart() or part.get_filename() is not None:
            continue
        name = part.get_param("name", header="Content-Disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            is_clean = is_clean and name not in form
            form.setdefault(name, value)
    return {n: v for n, v in form.items() if is_clean or n not in ("SPF", "dkim")} or None


def mail_digest(body: bytes) -> str:
    """The same for a mail that comes again. Not the Message-ID alone: whoever writes a mail chooses it, and one that is used
    twice must not hide the second mail.
    """
    form = read_form(body) or {"": body}
    digest = hashlib.sha256()
    for name in _IDENTITY if "" not in form else ("",):
        value = form.get(name, b"")
        digest.update(f"{name}:{len(value)}:".encode() + value)
    return digest.hexdigest()


def read_from(header: str) -> tuple[str, str, bool]:
    """The address in lower case, the display name, and whether the line is clear: one address, where it belongs. Raises
    MalformedError where there is no address at all.
    """
    if found := _FROM.fullmatch(header):
        name = found["name"] or ""
        if name.startswith('"'):
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        return (found["angled"] or found["plain"]).lower(), name, True
    if found := _ANY_ADDRESS.search(header):
        return found[0].lower(), "", False
    raise MalformedError("from", "names no address")


def is_proven(sender: str, spf: str, dkim: str, returns_to: Any, signatures: Iterable[str]) -> bool:
    """Whether SPF or DKIM passed for a domain that speaks for the sender's (DMARC's alignment)."""
    domain = sender.rpartition("@")[2]
    proven = []
    if spf.strip().lower() == "pass" and isinstance(returns_to, str):
        proven.append(returns_to.strip("<> ").rpartition("@")[2].lower())
    # A signature's domain is the sender's own text. One that is no domain could write results of its own into the list.
    if all(_is_plain_signature(signature) for signature in signatures):
        found = re.findall(r"@([^\s@,:{}]+)\s*:\s*(\w+)", dkim.lower())
        proven += [signer for signer, result in found if result == "pass"]
    return any(is_aligned(each, domain) for each in proven)


def _is_plain_signature(header: str) -> bool:
    domain = re.search(r"(?:^|;)\s*d\s*=([^;]*)", header)
    return domain is None or _DOMAIN.fullmatch(re.sub(r"\s", "", domain[1]).lower()) is not None


def is_aligned(proven: str, domain: str) -> bool:
    """A domain speaks for itself and for what is below it. Not for what is above: without a list of public suffixes,
    `mallory.host.example` would speak for all other customers of `host.example`.
    """
    return _DOMAIN.fullmatch(proven) is not None and (domain == proven or domain.endswith(f".{proven}"))


def is_machine(message: Message, sender: str, own_address: str, returns_to: Any) -> bool:
    """Whether a machine wrote it, or we did: such a mail asks for nothing, and an answer to it could go in circles."""
    words = {
        name: [v.partition(";")[0].strip().lower() for v in values(message, name)]
        for name in ("Auto-Submitted", "Precedence", "X-Auto-Response-Suppress", "Content-Type")
    }
    asks_for_silence = {w.strip() for v in words["X-Auto-Response-Suppress"] for w in v.split(",")}
    return (
        any(word != "no" for word in words["Auto-Submitted"])
        or any(values(message, name) for name in _MACHINE_HEADERS)
        or not _MACHINE_PRECEDENCE.isdisjoint(words["Precedence"])
        or not asks_for_silence.isdisjoint({"all", "autoreply", "oof"})
        or "multipart/report" in words["Content-Type"]
        or (isinstance(returns_to, str) and not returns_to.strip("<> "))
        or sender.partition("@")[0] in _MACHINE_SENDERS
        or sender == own_address
    )


# ---------------------------------------------------------------------------------------------------------------------
# Texts of a mail. Nothing in it can be trusted, so nothing here raises.


def parse(raw: bytes) -> Message:
    """A mail, or a form written like one. Parts nested deeper than anybody nests them are left unread, the headers are not."""
    try:
        return message_from_bytes(raw)
    except RecursionError:
        return BytesParser().parsebytes(raw, headersonly=True)


def values(message: Message, name: str) -> list[str]:
    """All headers of a name, as they were sent."""
    return [str(value) for value in message.get_all(name, [])]


def decode(raw: bytes, charset: str) -> str:
    """The text, whatever its charset is called; what does not fit becomes a replacement mark."""
    try:
        return raw.decode(charset, "replace")
    except (LookupError, ValueError):
        return raw.decode("utf-8", "replace")


def unfold(header: str) -> str:
    """A header's text with its encoded words (RFC 2047) decoded."""
    try:
        parts = decode_header(header)
    except (HeaderParseError, ValueError):
        return header
    return "".join(p if isinstance(p, str) else decode(p, charset or "latin-1") for p, charset in parts)


def body_of(message: Message) -> str:
    """The first plain text of a whole mail, else its first HTML as text. Attachments are no text."""
    texts: dict[str, str] = {}
    waiting: list[Any] = [message]
    while waiting:
        part = waiting.pop(0)
        payload = part.get_payload(decode=True)
        if part.is_multipart():
            waiting[:0] = part.get_payload()
        elif part.get_filename() is None and isinstance(payload, bytes):
            charset = part.get_content_charset("utf-8")
            texts.setdefault(part.get_content_type(), decode(payload, charset))
    return texts.get("text/plain", "").strip() or text_of(texts.get("text/html", ""))


def text_of(markup: str) -> str:
    """What HTML shows, roughly: lines where blocks end, no styles, scripts or comments. Its time grows with the length alone."""
    pieces = markup.split("<!--")
    shown, hidden = [], ""
    for token in re.split(r"(<[^<>]*>)", pieces[0] + "".join(p.partition("-->")[2] for p in pieces[1:])):
        tag = re.match(r"<(/?)([a-z0-9]+)", token, re.IGNORECASE)
        name = tag[2].lower() if tag else ""
        if hidden:
            hidden = "" if tag and tag[1] and name == hidden else hidden
        elif name in ("script", "style", "head", "title") and tag and not tag[1]:
            hidden = name
        elif tag is None and not re.fullmatch(r"<[!?][^<>]*>", token):
            shown.append(re.sub(r"\s+", " ", html.unescape(token)))
        elif name in ("br", "p", "div", "tr", "li", "blockquote", "h1", "h2", "h3", "table"):
            shown.append("\n")
    lines = (line.strip() for line in "".join(shown).split("\n"))
    return "\n".join(line for line in lines if line)


def plain(text: str) -> str:
    """Text that can be stored and shown: lines end with LF, and other control characters and halves of characters are gone."""
    lined = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", lined).strip()


def one_line(text: str) -> str:
    return " ".join(plain(text).split())[:998]
