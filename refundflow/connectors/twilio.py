"""Twilio: one short text message (SMS) to the customer's telephone, what became of it, and what customers write back.

API 2010-04-01, form-encoded (https://www.twilio.com/docs/messaging/api/message-resource and the vendor's own OpenAPI description,
twilio/twilio-oai d50069b; webhooks by the validator of twilio/twilio-python 306691e; read 2026-11-25). Authorised by an API key,
or by the account's auth token; webhooks are always signed with the auth token.

Quirks
- Nothing keeps a repeated call from sending twice: no key is honoured (`I-Twilio-Idempotency-Token` is a header that Twilio sends,
  not one that it reads). Our reference stands at the end of the text, and the messages to the number are read for it.
- That list is not narrowed by `DateSent`: a message that has not been sent yet has no such date and would be missing.
- An account can keep no texts, and a text can be erased later: then an absence proves nothing.
- Only the `status` of a message decides; its `error_code` may change, by the vendor's own words, and is told to people alone.
  The codes of refused calls (21610 and the like) do decide.
- Accepted is not delivered. The final word comes by callback to an address that carries our step key as `op`; there it stands in
  the query, which the signature covers, and nowhere in the body.
- The signature is made over the address exactly as Twilio called it, so the public one is configured. It has no time in it: what
  keeps an old delivery from counting twice is the message's id and status.
- CANCEL is one of the words by which customers opt out: a text must never ask for it, and one that says it asks for nothing.
- Texts beyond 160 characters of the GSM alphabet, or 70 where any other character is among them, are cut into segments, and each
  one is billed. Typographic marks are written plainly, for one curly quote would more than double the price.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import mktime_tz, parsedate_tz
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from refundflow.connectors.base import Capability, Health, Idempotency, Operation, Spec
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import opened_at
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    MessageSeen,
    MessageStatus,
    Reading,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire
from refundflow.transport.signatures import is_any, is_same, sign_base64, split_secrets

_DOC: Final = "https://www.twilio.com/docs/messaging/api/message-resource"

SPEC: Final = Spec(
    platform="twilio",
    api_version="2010-04-01",
    base_url="https://api.twilio.com",
    operations={
        Capability.SEND_MESSAGE: Operation(
            "POST /2010-04-01/Accounts/{AccountSid}/Messages.json", Idempotency.LOOKUP, _DOC
        ),
        Capability.CHECK: Operation(
            "GET /2010-04-01/Accounts/{AccountSid}/Messages.json", Idempotency.READ, _DOC
        ),
        Capability.INBOUND: Operation(
            "X-Twilio-Signature",
            Idempotency.READ,
            "https://www.twilio.com/docs/usage/webhooks/webhooks-security",
        ),
    },
    # No number is published: calls are limited by how many run at once. Twilio itself queues what a sender may not send yet.
    rate_per_s=5.0,
    burst=10,
    # Error messages and the addresses of pages spell the customer's number.
    redact=frozenset(
        {
            "body",
            "first_page_uri",
            "from",
            "message",
            "next_page_uri",
            "previous_page_uri",
            "to",
            "uri",
        }
    ),
)

_NO_SECRET: Final = Secret("")

#: A notice that could not be sent within the hour is dropped: it would come at night, or after the money.
_VALIDITY_S: Final = 3_600

#: How long a message may take to show in the list. A text that is two minutes late harms nobody.
_SETTLED_S: Final = 120.0
#: How long a message is surely still listed. Nothing is promised, and shops erase old ones.
_KEPT_S: Final = 30 * 86_400.0

#: Our clock and the vendor's differ: a message this much older than the case may still be ours.
_CLOCK_MARGIN_S: Final = 600

#: Four calls that all run into their limit end within the lease of a step. Nobody gets two thousand texts of one shop.
_PAGE: Final = 500
_MAX_PAGES: Final = 4

#: Ten segments are what 1,600 characters, the vendor's limit, can hold.
_MOST_SEGMENTS: Final = 10

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_ACCOUNT_SID: Final = re.compile(r"AC[0-9a-fA-F]{32}")
_SERVICE_SID: Final = re.compile(r"MG[0-9a-fA-F]{32}")
_MESSAGE_SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account and who its texts come from: `sender` (a number of ours in E.164, a short code or a name) or
    `messaging_service_sid`.

    `api_key` and `api_secret`: what calls are made with; without them `auth_token` is. `auth_token`: what webhooks are signed
    with; two with a comma between them while it is rotated, the current one first. `webhook_url`: the front door as Twilio calls
    it; `status_callback_url`: the same for what becomes of a message, where that is another address. `max_segments`: a text that
    would be billed as more is not sent. `base_url`: a regional host, or a practice vendor.
    """

    account_sid: str
    auth_token: Secret = _NO_SECRET
    api_key: str = ""
    api_secret: Secret = _NO_SECRET
    sender: str = ""
    messaging_service_sid: str = ""
    webhook_url: str = ""
    status_callback_url: str = ""
    max_segments: int = 3
    base_url: str = SPEC.base_url

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot work."""
        if not _ACCOUNT_SID.fullmatch(self.account_sid):
            raise ValueError("account_sid is AC and 32 hexadecimal digits")
        if bool(self.api_key) != bool(self.api_secret):
            raise ValueError("api_key and api_secret belong together")
        if not self.api_key and not split_secrets(self.auth_token.reveal()):
            raise ValueError("api_key and api_secret are needed, or auth_token")
        if bool(self.sender) == bool(self.messaging_service_sid):
            raise ValueError("sender or messaging_service_sid is needed, and not both")
        if self.messaging_service_sid and not _SERVICE_SID.fullmatch(self.messaging_service_sid):
            raise ValueError("messaging_service_sid is MG and 32 hexadecimal digits")
        if not 1 <= self.max_segments <= _MOST_SEGMENTS:
            raise ValueError(f"max_segments is a number from 1 to {_MOST_SEGMENTS}")
        for name, url in (
            ("webhook_url", self.webhook_url),
            ("status_callback_url", self.status_callback_url),
        ):
            parts = urlsplit(url)
            is_web = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            if url and (not is_web or "_" in parts.netloc):
                raise ValueError(f"{name} is a whole address, http(s)://…, without underscores in its host")

    @property
    def callback_url(self) -> str:
        """Where Twilio tells what became of a message; may be empty."""
        return self.status_callback_url or self.webhook_url


def build(credentials: Credentials, wire: Wire) -> Twilio:
    """The connector on a wire: by API key where there is one, because the auth token may do everything."""
    login = (
        (credentials.api_key, credentials.api_secret.reveal())
        if credentials.api_key
        else (credentials.account_sid, split_secrets(credentials.auth_token.reveal())[0])
    )
    return Twilio(
        wire.http(
            platform=SPEC.platform,
            base_url=credentials.base_url.rstrip("/"),
            rate_per_s=SPEC.rate_per_s,
            burst=SPEC.burst,
            connect_s=SPEC.connect_s,
            read_s=SPEC.read_s,
            auth=login,
            redact=SPEC.redact,
        ),
        credentials.account_sid,
        ("From", credentials.sender)
        if credentials.sender
        else ("MessagingServiceSid", credentials.messaging_service_sid),
        credentials.callback_url,
        credentials.max_segments,
    )


@dataclass(frozen=True, slots=True)
class Twilio:
    """One account. `origin`: the form field that names who texts come from; the rest as in `Credentials`."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    account_sid: str
    origin: tuple[str, str]
    callback_url: str = ""
    max_segments: int = 3

    def check(self) -> Health:
        """Lists one message: the very permission that a look-up needs. (A standard API key cannot read the account itself.)"""
        return read_health(self.http.send(check_request(self.account_sid)), self.account_sid)

    def send_message(self, command: SendMessage) -> Outcome:
        body = body_of(command)
        segments = count_segments(body)
        refusal = refusal_of(command, segments, self.max_segments)
        if refusal is not None:
            return refusal
        request = message_request(command, body, self.account_sid, self.origin, self.callback_url)
        return read_message(self.http.send(request), segments)

    def find_send_message(self, command: SendMessage) -> Found:
        """Reads the messages to this number for one of ours that carries our reference."""
        messages: list[Mapping[str, Any]] = []
        request = list_request(command, self.account_sid)
        for _ in range(_MAX_PAGES):
            match read_page(self.http.send(request), self.account_sid):
                case Unknown() as trouble:
                    return trouble
                case items, "":
                    return read_found([*messages, *items], command)
                case items, next_path:
                    messages += items
                    request = Request("GET", next_path, "twilio.find_send_message")
        return Unknown(f"more than {_MAX_PAGES * _PAGE} messages to this number")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def messages_path(account_sid: str) -> str:
    return f"/{SPEC.api_version}/Accounts/{account_sid}/Messages.json"


def check_request(account_sid: str) -> Request:
    return Request("GET", messages_path(account_sid), "twilio.check", params=(("PageSize", "1"),))


def message_request(
    command: SendMessage, body: str, account_sid: str, origin: tuple[str, str], callback_url: str
) -> Request:
    return Request(
        "POST",
        messages_path(account_sid),
        "twilio.send_message",
        form=(
            ("To", command.to),
            origin,
            ("Body", body),
            *((("StatusCallback", callback_of(command, callback_url)),) if callback_url else ()),
            ("ValidityPeriod", str(_VALIDITY_S)),
            # Replaces what our own table of typographic marks does not know.
            ("SmartEncoded", "true"),
        ),
    )


def list_request(command: SendMessage, account_sid: str) -> Request:
    """All messages to the number, sent or not."""
    return Request(
        "GET",
        messages_path(account_sid),
        "twilio.find_send_message",
        params=(("To", command.to), ("PageSize", str(_PAGE))),
    )


def refusal_of(command: SendMessage, segments: Segments, max_segments: int) -> Permanent | None:
    """Why this is not sent at all; None where it may be."""
    if not _E164.fullmatch(command.to):
        return Permanent(
            "invalid_recipient", "the text is not addressed to a telephone number in E.164 (+12025550143)"
        )
    if not command.text.strip():
        # Twilio would not refuse it: our reference is in the body.
        return Permanent("no_text", "the message has no text")
    if segments.count > max_segments:
        return Permanent(
            "too_long",
            f"the text would be billed as {segments.told} and at most {max_segments} are allowed: shorten the template, "
            "or raise REFUNDFLOW_TWILIO_MAX_SEGMENTS",
        )
    return None


def body_of(command: SendMessage) -> str:
    """The text as it is sent: typographic marks written plainly, our reference behind it."""
    plain = unicodedata.normalize("NFC", command.text).translate(_PLAIN_MARKS).strip()
    return f"{plain} Ref {reference_of(command)}"


def reference_of(command: SendMessage) -> str:
    """Our reference as the customer and the support see it: the case and the message's number in it, `RF-…-3` for the step
    `RF-….notify.3`. After a definite no the next key's number follows (`RF-…-3-2`): it is another message.
    """
    case, _, step = command.step_key.partition(".")
    try_number = command.key.rpartition(":")[2]
    return "-".join(
        (
            case,
            step.removeprefix("notify.").replace(".", "-"),
            *(() if try_number == "1" else (try_number,)),
        )
    )


def callback_of(command: SendMessage, callback_url: str) -> str:
    """The callback's address with our step in it, whatever parameters it has of its own."""
    parts = urlsplit(callback_url)
    query = "&".join(filter(None, (parts.query, urlencode({"op": command.step_key}))))
    return urlunsplit(parts._replace(query=query))


# ---------------------------------------------------------------------------------------------------------------------
# Segments


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text is billed as. `encoding`: GSM-7, or UCS-2 where any character is not in the GSM alphabet."""

    encoding: str
    count: int

    @property
    def told(self) -> str:
        """Twilio may still replace characters that are not of the GSM alphabet, and so need fewer."""
        bound = "at most " if self.encoding == "UCS-2" else ""
        return f"{bound}{self.count} segment{'' if self.count == 1 else 's'} ({self.encoding})"


#: The GSM 7-bit default alphabet (3GPP TS 23.038, 6.2.1) without its escape.
_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
#: Its extension table (6.2.1.1): each of these is an escape and a character.
_GSM_EXTENSION: Final = frozenset("\f^{}\\[~]|€")

#: Marks that word processors and templates put into texts, and what stands for them in the GSM alphabet.
_PLAIN_MARKS: Final = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛′", "'"),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f\t", " "),
        "…": "...",
    }
)


def count_segments(body: str) -> Segments:
    """How many segments a text is sent in: one of 160 septets or 70 UTF-16 units, or several of 153 or 67 (the rest of each says
    which part of the whole it is). Neither an escaped character nor a surrogate pair is cut in two.
    """
    if all(each in _GSM or each in _GSM_EXTENSION for each in body):
        encoding, whole, part = "GSM-7", 160, 153
        sizes = [2 if each in _GSM_EXTENSION else 1 for each in body]
    else:
        encoding, whole, part = "UCS-2", 70, 67
        sizes = [2 if ord(each) > 0xFFFF else 1 for each in body]
    if sum(sizes) <= whole:
        return Segments(encoding, 1)
    count, room = 1, part
    for size in sizes:
        if size > room:
            count, room = count + 1, part
        room -= size
    return Segments(encoding, count)


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_message(response: Response, segments: Segments) -> Outcome:
    match response.status, response.json:
        case 201, {"sid": str()} as message:
            return fate_of(message, segments)
        case 429, _:
            return Retryable("throttled", _SLOW_DOWN, response.retry_after_s)
        case status, {"code": int(code)} if 400 <= status < 500 and code in ERRORS:
            return ERRORS[code]
        case 401 | 403, _:
            return UNAUTHORISED
        case 400, {"code": int(code), "message": str(why)} if code >= 10_000:
            return Permanent(str(code), without_numbers(why))
        case _:
            return unreadable(response)


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Twilio, status {response.status}")


def without_numbers(words: str) -> str:
    """The vendor's words without the telephone numbers that it likes to quote."""
    return re.sub(r"\+?[0-9][0-9 ().-]{5,}[0-9]", "(number)", words)[:300]


#: A message that Twilio took and has not given up. `read` and `partially_delivered` belong to other channels.
_ON_ITS_WAY: Final = frozenset(
    {"accepted", "scheduled", "queued", "sending", "sent", "delivered", "read", "partially_delivered"}
)
#: A message that will not arrive.
_LOST: Final = frozenset({"failed", "undelivered", "canceled"})


def fate_of(message: Mapping[str, Any], segments: Segments) -> Done | Permanent | Unknown:
    """What a message's status says about it. Done: Twilio has it; whether it arrives is told later."""
    match message:
        case {"sid": str(sid), "status": str(status)} if _MESSAGE_SID.fullmatch(sid):
            if status in _ON_ITS_WAY:
                return Done(sid, f"{status}; {segments.told}")
            if status in _LOST:
                code = message.get("error_code")
                return Permanent("bounced", f"the text will not arrive: {told_loss(status, code)}")
            return Unknown(f"Twilio has the message and says {status!r} about it")
        case _:
            return Unknown("Twilio shows a message without an id or a status")


def told_loss(status: str, code: object) -> str:
    """The vendor's status and its code in words, for people only."""
    number = str(code or "")
    words = MISHAPS.get(number, "")
    return f"{status} ({number}{': ' if words else ''}{words})" if number else status


def read_page(response: Response, account_sid: str) -> tuple[list[Mapping[str, Any]], str] | Unknown:
    """One page of messages and the path of the next one ("" after the last). After a send, a look that failed says nothing
    about the effect, whatever its status.
    """
    match response.status, response.json:
        case 200, {"messages": list(items), "next_page_uri": str() | None as uri} if all(
            isinstance(item, dict) for item in items
        ):
            # Only the query is taken from the answer: our key never follows an address that somebody sent us.
            _, mark, rest = (uri or "").partition(f"{messages_path(account_sid)}?")
            if uri and not mark:
                return Unknown("Twilio names a next page that cannot be read")
            return items, mark + rest
        case 401 | 403, _:
            return Unknown(f"Twilio did not let us look for the message: {_KEY_ADVICE}")
        case 429, _:
            return Unknown("Twilio asks us to slow down, so the look for the message has to wait")
        case _:
            return unreadable(response)


def read_found(messages: Iterable[Mapping[str, Any]], command: SendMessage) -> Found:
    """What the messages to a number say about ours. Should there be two of ours, the one that is on its way counts."""
    since_s = opened_at(command.step_key) - _CLOCK_MARGIN_S
    ours_by_api = [m for m in messages if m.get("direction") == "outbound-api"]
    fates = [
        fate_of(message, count_segments(message["body"]))
        for message in ours_by_api
        if is_marked(message, command)
    ]
    for kind in (Done, Unknown, Permanent):
        for fate in fates:
            if isinstance(fate, kind):
                return fate
    if any(is_erased(message, since_s) for message in ours_by_api):
        return Unknown(
            "Twilio shows messages to this number without their text, and any of them may be ours: switch the redaction of "
            "message bodies off, so that a lost answer can be looked up"
        )
    return NotFound(_SETTLED_S, "no message to this number carries our reference", _KEPT_S)


def is_marked(message: Mapping[str, Any], command: SendMessage) -> bool:
    """Whether the text carries our reference, whole. Trial accounts and services put words of theirs around a text."""
    match message:
        case {"body": str(body)}:
            return re.search(rf"(?<!\S)Ref {re.escape(reference_of(command))}(?!\S)", body) is not None
        case _:
            return False


def is_erased(message: Mapping[str, Any], since_s: float) -> bool:
    """Whether this may be a text of our case that is no longer shown. A picture without words never was one."""
    if message.get("body") or str(message.get("num_media") or "0") != "0":
        return False
    created_s = read_date(message.get("date_created"))
    return created_s is None or created_s >= since_s


def read_date(text: object) -> float | None:
    """The vendor's form of a date (RFC 2822, GMT) in epoch seconds; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(
        r"\w{3}, [0-9]{2} \w{3} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} \+0000", text
    ):
        return None
    parsed = parsedate_tz(text)
    return mktime_tz(parsed) if parsed else None


def read_health(response: Response, account_sid: str) -> Health:
    match response.status, response.json:
        case 200, {"messages": list()}:
            return Health(True, f"Twilio account {account_sid} answers")
        case 401 | 403, _:
            return Health(False, f"Twilio refused the credentials: {_KEY_ADVICE}")
        case 404, _:
            return Health(False, f"Twilio has no account {account_sid} for these credentials: {_KEY_ADVICE}")
        case status, _:
            return Health(False, f"Twilio answered with status {status}")


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's error codes (https://www.twilio.com/docs/api/errors)

_KEY_ADVICE: Final = (
    "give REFUNDFLOW_TWILIO_API_KEY and REFUNDFLOW_TWILIO_API_SECRET (or REFUNDFLOW_TWILIO_AUTH_TOKEN) of the account "
    "REFUNDFLOW_TWILIO_ACCOUNT_SID, and of its region where REFUNDFLOW_TWILIO_BASE_URL names one"
)
_SLOW_DOWN: Final = "Twilio asks us to slow down"

UNAUTHORISED: Final = Retryable("unauthorised", f"Twilio refused the credentials: {_KEY_ADVICE}")

#: What the `code` of a refused call means. Only what is here is told in our words; the vendor's own quote the number.
ERRORS: Final[Mapping[int, Retryable | Permanent]] = {
    14107: Retryable("throttled", "the sender has reached its rate"),
    20429: Retryable("throttled", _SLOW_DOWN),
    21611: Retryable("throttled", "the sender's queue is full"),
    20003: UNAUTHORISED,
    20404: Permanent("20404", f"there is no such account: {_KEY_ADVICE}"),
    21211: Permanent("invalid_recipient", "21211: the customer's number is no valid telephone number"),
    21614: Permanent("invalid_recipient", "21614: the customer's number is not a mobile telephone's"),
    21610: Permanent("opted_out", "21610: the customer has opted out of texts from this sender"),
    21612: Permanent("21612", "this sender cannot reach the customer's number"),
    21408: Permanent("21408", "texts to the number's country are not switched on in the Twilio console"),
    21617: Permanent("21617", "the text has more than 1,600 characters"),
    21602: Permanent("21602", "the text is empty"),
    21608: Permanent("21608", "a trial account sends to verified numbers only"),
    21606: Permanent("21606", "the sender is not a number of this account that can send texts"),
    21659: Permanent("21659", "the sender is not a number of this account, or not one for this country"),
    21609: Permanent(
        "21609", "Twilio does not take the callback's address: see REFUNDFLOW_TWILIO_STATUS_CALLBACK_URL"
    ),
    30034: Permanent("30034", "the sender is not registered for texts to the United States (A2P 10DLC)"),
}

#: What became of a message, in words. Nothing is decided by these.
MISHAPS: Final[Mapping[str, str]] = {
    "21610": "the customer has opted out",
    "30001": "the sender's queue is full",
    "30003": "the telephone cannot be reached",
    "30004": "blocked by the carrier or the customer",
    "30005": "the number is not in use",
    "30006": "a landline",
    "30007": "filtered by the carrier",
    "30008": "the carrier does not say why",
    "30034": "the sender is not registered",
    "30036": "not sent in time",
}


# ---------------------------------------------------------------------------------------------------------------------
# Inbound

#: Topics. A status has the step's key behind a colon, as the callback's address had it: the body does not tell it.
_STATUS: Final = "status"
_SMS: Final = "sms"
_DOCUMENT: Final = "document"

#: Twilio's words for opting out; each counts where it is the whole text. An account may have set others.
STOP_WORDS: Final = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})


@dataclass(frozen=True, slots=True)
class TwilioInbound:
    """Status callbacks and incoming texts (https://www.twilio.com/docs/usage/webhooks/webhooks-security, read 2026-11-25).

    `auth_token`: of the account, several with commas between them; the addresses as in `Credentials`. Of a delivery its `query`
    is needed too: Twilio signs the whole address, and `op` is in it.
    """

    platform: ClassVar[str] = SPEC.platform
    auth_token: Secret
    webhook_url: str
    status_callback_url: str = ""

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """The message is the address as called and the form's fields; of a body that is no form, the address has its digest."""
        tokens = split_secrets(self.auth_token.reveal())
        addresses = addresses_of((self.webhook_url, self.status_callback_url), delivery.query)
        if not tokens or not addresses:
            return Refused("no auth token, or no public address, is set")
        given = delivery.headers.get("x-twilio-signature", "")
        if not given:
            return Refused("the signature header is missing")
        parameters = dict(parse_qsl(delivery.query, keep_blank_values=True))
        digest = parameters.get("bodySHA256")
        fields = read_form(delivery.body) if digest is None else ()
        if not is_any([signature_of(t, address, fields) for t in tokens for address in addresses], [given]):
            return Refused("the signature does not match")
        if digest is not None:
            own = hashlib.sha256(delivery.body).hexdigest()
            return Verified(own, _DOCUMENT) if is_same(own, digest) else Refused("the body was changed")
        match dict(fields):
            case {"MessageSid": sid, "MessageStatus": status} if sid and status:
                return Verified(f"{sid}:{status}", f"{_STATUS}:{read_op(parameters)}")
            case {"MessageSid": sid, "Body": _} if sid:
                return Verified(f"{sid}:received", _SMS)
            case _:
                return Refused("the body is no event")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Raises MalformedError where an event that matters to us lacks what it must have."""
        kind, _, op = topic.partition(":")
        fields = dict(read_form(body))
        if kind == _STATUS:
            return _read_status(fields, op)
        if kind == _SMS:
            return _read_sms(fields)
        return Irrelevant(f"a {kind} of Twilio's asks nothing of us")


def addresses_of(urls: Iterable[str], query: str) -> tuple[str, ...]:
    """The addresses that Twilio may have signed: each of ours with the query as called, with and without its port (the
    vendor's own library takes both). A fragment, which only tells Twilio how to call, is not signed.
    """
    found: dict[str, None] = {}
    for url in filter(None, urls):
        parts = urlsplit(url)._replace(query=query, fragment="")
        user, at, _ = parts.netloc.rpartition("@")
        host = parts.hostname or ""
        bare = user + at + (f"[{host}]" if ":" in host else host)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        for netloc in (parts.netloc, bare, f"{bare}:{port}"):
            found[urlunsplit(parts._replace(netloc=netloc))] = None
    return tuple(found)


def read_form(body: bytes) -> tuple[tuple[str, str], ...]:
    """The form's fields, empty ones too. Bytes that are no UTF-8 are replaced, and then no signature fits."""
    return tuple(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def signature_of(auth_token: str, address: str, fields: Iterable[tuple[str, str]]) -> str:
    """Twilio's signature: over the address and behind it every field's name and value, sorted, each pair once."""
    told = address + "".join(name + value for name, value in sorted(set(fields)))
    return sign_base64(auth_token, told.encode(), "sha1")


def read_op(parameters: Mapping[str, str]) -> str:
    """The step that a callback's address names; "" where it names none, or something that is no key of ours."""
    op = parameters.get("op", "")
    return op if re.fullmatch(r"[A-Za-z0-9._-]{1,200}", op) else ""


def _read_status(fields: Mapping[str, str], op: str) -> MessageSeen | Irrelevant:
    status = _required(fields, "MessageStatus")
    _required(fields, "MessageSid")
    if not op:
        return Irrelevant(f"a message is {status}, and its callback names no step of ours")
    if status == "delivered":
        return MessageSeen(SPEC.platform, op, MessageStatus.DELIVERED)
    if status in ("undelivered", "failed"):
        why = told_loss(status, fields.get("ErrorCode"))
        return MessageSeen(SPEC.platform, op, MessageStatus.BOUNCED, why)
    return Irrelevant(f"the message is {status}, and whether it arrives is told by other words")


def _read_sms(fields: Mapping[str, str]) -> Irrelevant:
    """No text decides anything. What was written is not repeated: it is the customer's, and the console shows it."""
    _required(fields, "MessageSid")
    word = fields.get("Body", "").strip().upper()
    if fields.get("OptOutType", "") == "STOP" or word in STOP_WORDS:
        return Irrelevant(
            "the customer opted out of texts: Twilio itself refuses later ones (CANCEL is such a word too, and no request)"
        )
    return Irrelevant(
        "an SMS never moves money: a telephone number proves too little. A person can read it in the Twilio console"
    )


def _required(fields: Mapping[str, str], name: str) -> str:
    if found := fields.get(name, ""):
        return found
    raise MalformedError(name, "is missing")
