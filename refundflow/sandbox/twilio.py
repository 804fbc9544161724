"""Practice Twilio: text messages by SMS, looked up again and told about, and what customers write back, under `/twilio/`.

API 2010-04-01, JSON only: `/2010-04-01/Accounts/{AccountSid}` + `.json`, `/Messages.json`, `/Messages/{Sid}.json`. Shapes: the
vendor's own OpenAPI description (twilio-oai d50069b) and https://www.twilio.com/docs, read 2026-11-25. Where they are silent,
`Habits` names the practised reading. Texts only: no media, templates or schedules.

Strict about: Basic with account and token or with an API key (a standard key cannot read the account), forms (JSON is no form),
the account in the path, E.164, senders of our own, 1,600 characters, callback addresses, validity, page sizes. Nothing here is
idempotent: a second call sends a second SMS. `Page` alone does not turn the page, only the `PageToken` of `next_page_uri` (which,
as at the vendor, begins below the host: put it behind the base address). Test credentials send nothing, know the magic numbers,
and can only send. A callback address on loopback is let through, unlike at the vendor: a rehearsal has no other.

Status: without a messaging service queued → sent → delivered, with one accepted → queued → sent → delivered; the answer has the
first, the rest happens at once. The first status is never called back. Callbacks go to the message's own StatusCallback (one
more try where no connection came about); without one, and for an SMS that comes in, to whoever subscribed: that is what
the console has on record. The callback may overtake the answer.

`seed({"senders"?: [number], "services"?: [{"sid", "senders", "has_advanced_opt_out"?}], "refusing"?: {number: code},
"undelivered"?: {number: code}, "opted_out"?: [number], "inbound"?: [sms], "habits"?: {…}})`: numbers refused at once with that
error, numbers that cannot be reached, numbers that opted out from every sender; an sms is `{"from", "body", "to"?}`. A fresh
account has the number `NUMBER` in the pool of the service `SERVICE`, and the number `SOLO` outside it.

`settle` takes `{"message": sid, "status": "queued" | "sent" | "delivered" | "undelivered" | "failed", "error_code"?}` (goes through
what lies between) or `{"inbound": sms}` (a customer writes; STOP, START and their like opt out and in). A slow_pending fault
leaves a message at its first status, or where its `code` says ("queued", "sent"); one that waits longer than its validity
fails. late_failure leaves it sent, and undelivered afterwards.

Webhook topics: the statuses, and `inbound`; the object is the message's sid.

Book: `send_message`, `drop_message` (opted out, where that is not refused at once), `test_message` (test credentials), `opt_out`,
`opt_in`. `reference` is the parameter `op` of the StatusCallback; `body` is as sent.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

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

ACCOUNT_SID: Final = "ACfacade00000000000000000000000001"
AUTH_TOKEN: Final = "practice-twilio-auth-token"  # noqa: S105 (a practice secret, known to everybody)
API_KEY: Final = "SKfacade00000000000000000000000001"
API_SECRET: Final = "practice-twilio-api-secret"  # noqa: S105 (as above)
TEST_ACCOUNT_SID: Final = "ACfacade00000000000000000000000002"
TEST_AUTH_TOKEN: Final = "practice-twilio-test-auth-token"  # noqa: S105 (as above)
SERVICE: Final = "MGfacade00000000000000000000000001"
NUMBER: Final = "+12025550143"
SOLO: Final = "+12025550144"

VERSION: Final = "2010-04-01"
BODY_MOST: Final = 1_600
CALLBACK_MOST: Final = 4_000
VALIDITY_MOST_S: Final = 36_000
PAGE_SIZE: Final = 50
PAGE_SIZE_MOST: Final = 1_000
EXPIRED: Final = 30_036
UNKNOWN_ERROR: Final = 30_008
OPTED_OUT: Final = 21_610

STOP_WORDS: Final = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"))
START_WORDS: Final = frozenset(("START", "YES", "UNSTOP"))
HELP_WORDS: Final = frozenset(("HELP", "INFO"))

_ERRORS: Final[Mapping[int, tuple[int, str]]] = {
    20001: (400, "Invalid parameter: {what}"),
    20003: (401, "Authenticate"),
    20007: (400, "Page size must be at most 1000"),
    20008: (403, "Resource not accessible with Test Account Credentials"),
    20404: (404, "The requested resource {what} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    21211: (400, "The 'To' number {to} is not a valid phone number."),
    21212: (
        400,
        "The 'From' number {sender} is not a valid phone number, shortcode, or alphanumeric sender ID.",
    ),
    21408: (400, "Permission to send an SMS has not been enabled for the region of the 'To' number: {to}."),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (400, "The From phone number {sender} is not a valid, SMS-capable number for your account."),
    21608: (400, "The number {to} is unverified; trial accounts cannot send messages to unverified numbers."),
    21609: (400, "The StatusCallback URL {what} is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (400, "This 'From' number {sender} has exceeded the maximum number of queued messages."),
    21612: (400, "The 'To' number {to} is not reachable from the 'From' number {sender}."),
    21614: (400, "To number: {to}, is not a mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit."),
    21624: (400, "Invalid validity period value {what}"),
    21659: (400, "'From' {sender} is not a Twilio phone number or Short Code country mismatch"),
    21701: (400, "The Messaging Service does not exist"),
    21703: (400, "The Messaging Service has no phone number available to send a message"),
    21705: (400, "The Messaging Service is invalid"),
}
# What befalls a message after it was accepted; the texts may change at any time.
_MISHAPS: Final[Mapping[int, str]] = {
    21610: "Attempt to send to unsubscribed recipient",
    30003: "Unreachable destination handset",
    30004: "Message blocked",
    30005: "Unknown destination handset",
    30006: "Landline or unreachable carrier",
    30007: "Message filtered",
    30008: "Unknown error",
    30034: "Message from an unregistered number",
    30036: "Validity period expired",
}
_MAGIC_SENDER: Final = "+15005550006"
_MAGIC_SENDERS: Final = {"+15005550001": 21212, "+15005550008": 21611}
_MAGIC_RECIPIENTS: Final = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}

_WAY: Final = ("accepted", "queued", "sent", "delivered")
_E164: Final = re.compile(r"\+[1-9]\d{6,14}")
_SHORT_CODE: Final = re.compile(r"\d{5,6}")
_ALPHANUMERIC: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_SERVICE_SID: Final = re.compile(r"MG[0-9a-fA-F]{32}")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+|[0-9a-f:]+")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_FORM: Final = "application/x-www-form-urlencoded"
_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED: Final = frozenset("\f^{}\\[~]|€")
_SMART: Final = str.maketrans(
    {
        **dict.fromkeys("“”„«»″", '"'),
        **dict.fromkeys("‘’‚′`", "'"),
        **dict.fromkeys("–—‑−", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\t", " "),
        "…": "...",
    }
)


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or promises loosely.

    `refuses_opt_outs_at_once`: sending to a number that opted out is refused (else accepted, and failed afterwards).
    `finds_unsent_by_date`: a message not sent yet, which has no date, is found by DateSent as if sent when made.
    `list_delay_s`: how long after it was made a message can be found in the list; reading it by sid does not wait.
    `forwards_keywords`: an SMS of one opt-out, opt-in or help word reaches the webhook too. `signs_port`: an address with a
    port is signed with it. `keys_read_account`: a standard API key may read the account (the vendor says it may not).
    """

    refuses_opt_outs_at_once: bool = True
    finds_unsent_by_date: bool = False
    list_delay_s: float = 0.0
    forwards_keywords: bool = True
    signs_port: bool = True
    keys_read_account: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """A messaging service. Only one with advanced opt-out says with an inbound SMS which kind of word it was."""

    sid: str
    senders: tuple[str, ...]
    has_advanced_opt_out: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as asked for and found well-formed; empty where not given."""

    to: str
    sender: str
    service: str
    body: str
    callback: str
    validity_s: int


@dataclass(slots=True)
class Message:
    sid: str
    to: str
    sender: str
    service: str
    body: str
    direction: str
    status: str
    created: datetime
    updated: datetime
    sent: datetime | None = None
    error: int | None = None
    callback: str = ""
    validity_s: int = VALIDITY_MOST_S


def refusal(code: int, *, to: str = "", sender: str = "", what: str = "") -> Answer:
    """The vendor's error of that number. Raises ValueError for one that is not practised."""
    if code not in _ERRORS:
        raise ValueError(f"twilio has no error {code} here; it has {', '.join(map(str, _ERRORS))}")
    status, text = _ERRORS[code]
    return Answer(
        status,
        {
            "code": code,
            "message": text.format(to=to, sender=sender, what=what),
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
        {"WWW-Authenticate": 'Basic realm="Twilio API"'} if status == 401 else {},
    )


def fail(code: int, *, to: str = "", sender: str = "", what: str = "") -> NoReturn:
    """Ends the call with the vendor's error."""
    raise RefusalError(refusal(code, to=to, sender=sender, what=what))


def segments_of(body: str) -> int:
    """How many SMS a text is billed as: 160 GSM-7 characters or 70 of UCS-2, and in parts 153 or 67; no character is cut in two."""
    if all(each in _GSM or each in _GSM_ESCAPED for each in body):
        one, part = 160, 153
        sizes = [2 if each in _GSM_ESCAPED else 1 for each in body]
    else:
        one, part = 70, 67
        sizes = [len(each.encode("utf-16-be")) // 2 for each in body]
    if sum(sizes) <= one:
        return 1
    count, room = 1, part
    for size in sizes:
        if size > room:
            count, room = count + 1, part
        room -= size
    return count


def signature_of(auth_token: str, url: str, params: Iterable[tuple[str, str]] = ()) -> str:
    """A webhook's signature: over the address and, sorted by name and each value once, every parameter's name and value."""
    told = url + "".join(name + value for name, value in sorted(set(params)))
    return base64.b64encode(hmac.new(auth_token.encode(), told.encode(), hashlib.sha1).digest()).decode()


class Twilio(Vendor):
    """See the module's docstring; messages are kept in the order in which they were made, both ways."""

    name: ClassVar[str] = "twilio"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        account = f"/{VERSION}/Accounts/{{account}}"
        messages = f"{account}/Messages"
        self._routes = (
            Route("POST", f"{messages}.json", "send_message", self._send),
            Route("GET", f"{messages}.json", "list_messages", self._list),
            Route("GET", f"{messages}/{{sid}}.json", "get_message", self._get),
            Route("GET", f"{account}.json", "get_account", self._get_account),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.senders = {NUMBER, SOLO}
        self.services = {SERVICE: Service(SERVICE, (NUMBER,))}
        self.refusing: dict[str, int] = {}
        self.undelivered: dict[str, int] = {}
        # Who opted out from what: a messaging service, or a number that is in none.
        self.opted_out: set[tuple[str, str]] = set()
        self.messages: dict[str, Message] = {}
        self._events: dict[tuple[str, str], Event] = {}

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            services = [
                Service(**{**each, "senders": tuple(each["senders"])}) for each in data.get("services", ())
            ]
            self.services |= {each.sid: each for each in services}
            self.senders |= {number for each in services for number in each.senders}
            self.senders |= set(data.get("senders", ()))
            for code in data.get("refusing", {}).values():
                refusal(code)
            self.refusing |= data.get("refusing", {})
            self.undelivered |= data.get("undelivered", {})
            scopes = {self._scope("", each) for each in self.senders} | set(self.services)
            self.opted_out |= {(scope, number) for scope in scopes for number in data.get("opted_out", ())}
            inbound = [self._receive(each)[0].sid for each in data.get("inbound", ())]
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"cannot seed twilio: {wrong!r}") from wrong
        return {"services": [each.sid for each in services], "inbound": inbound}

    def settle(self, data: Record) -> Record:
        self._expire()
        match data:
            case {"message": str(sid), "status": str(status)}:
                message = self.messages.get(sid)
                if message is None:
                    raise NoSuchObjectError(f"twilio has no message {sid!r}")
                self._tell(message, self._advance(message, status, data.get("error_code")))
                return {"message": sid, "status": message.status, "error_code": message.error}
            case {"inbound": dict(sms)}:
                try:
                    message, event = self._receive(sms)
                except KeyError as missing:
                    raise ValueError(f"an inbound sms needs {missing}") from missing
                if event is not None:
                    self.emit(event)
                return {"inbound": message.sid, "is_forwarded": event is not None}
            case _:
                raise ValueError('twilio settles {"message": …, "status": …} or {"inbound": {…}}')

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """Account and token, or key and secret; a path of another account is one that is not there."""
        scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
        try:
            user, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = secret = ""
        owner = {
            (ACCOUNT_SID, AUTH_TOKEN): ACCOUNT_SID,
            (API_KEY, API_SECRET): ACCOUNT_SID,
            (TEST_ACCOUNT_SID, TEST_AUTH_TOKEN): TEST_ACCOUNT_SID,
        }.get((user, secret))
        if scheme.lower() != "basic" or owner is None:
            return self.unauthorised(call)
        if call.ids.get("account", owner) != owner:
            return self.not_found(call)
        if owner == TEST_ACCOUNT_SID and call.operation != "send_message":
            return refusal(20008)
        if user == API_KEY and call.operation == "get_account" and not self.habits.keys_read_account:
            return self.unauthorised(call)
        return None

    def begin(self, call: Call) -> Answer | None:  # noqa: ARG002 (the contract's signature)
        self._expire()
        return None

    def finish(self, call: Call, answer: Answer) -> Answer:  # noqa: ARG002 (the contract's signature)
        """Every answer has the id that the vendor's support asks for; a 429 does not say how long to wait."""
        return replace(answer, headers={"Twilio-Request-Id": f"RQ{uuid.uuid4().hex}", **answer.headers})

    def unauthorised(self, call: Call) -> Answer:  # noqa: ARG002 (the contract's signature)
        return refusal(20003)

    def refuse(self, call: Call) -> Answer:
        """The error that the fault's `code` names; else an invalid number, or something that is not there."""
        code = call.fault.code if call.fault is not None else ""
        asked = _read_form(call)
        return refusal(
            int(code or (21211 if call.operation == "send_message" else 20404)),
            to=asked.get("To", ""),
            sender=asked.get("From", "") or asked.get("MessagingServiceSid", ""),
            what=call.path,
        )

    def not_found(self, call: Call) -> Answer:
        return refusal(20404, what=call.path)

    def failure(self, call: Call, status: int) -> Any:  # noqa: ARG002 (the contract's signature)
        body: Record = refusal(20429 if status == 429 else 20500).body
        return {**body, "status": status}

    # ------------------------------------------------------------ sending

    def _send(self, call: Call) -> Answer:
        asked = _read_outgoing(call)
        if call.ids["account"] == TEST_ACCOUNT_SID:
            return self._pretend(asked)
        self._check_sender(asked)
        words = {"to": asked.to, "sender": asked.sender or asked.service}
        if asked.to in self.refusing:
            fail(self.refusing[asked.to], **words)
        is_opted_out = (self._scope(asked.service, asked.sender), asked.to) in self.opted_out
        if is_opted_out and self.habits.refuses_opt_outs_at_once:
            fail(OPTED_OUT, **words)
        message = self._make(asked)
        self.messages[message.sid] = message
        self._note("drop_message" if is_opted_out else "send_message", message)
        answer = Answer(201, _shown(message))
        if is_opted_out:
            self._tell(message, self._advance(message, "failed", OPTED_OUT))
        else:
            self._carry(call, message)
        return answer

    def _check_sender(self, asked: Outgoing) -> None:
        if asked.service:
            if not _SERVICE_SID.fullmatch(asked.service):
                fail(21705)
            if asked.service not in self.services:
                fail(21701)
            pool = self.services[asked.service].senders
            if not pool or (asked.sender and asked.sender not in pool):
                fail(21703)
        elif asked.sender not in self.senders:
            is_number = _E164.fullmatch(asked.sender) or _SHORT_CODE.fullmatch(asked.sender)
            is_name = _ALPHANUMERIC.fullmatch(asked.sender)
            fail(21659 if is_number else 21606 if is_name else 21212, sender=asked.sender)
        if asked.to == asked.sender:
            fail(21211, to=asked.to)

    def _make(self, asked: Outgoing) -> Message:
        now = self._now()
        return Message(
            f"SM{uuid.uuid4().hex}",
            asked.to,
            asked.sender,
            asked.service,
            asked.body,
            "outbound-api",
            "accepted" if asked.service else "queued",
            now,
            now,
            callback=asked.callback,
            validity_s=asked.validity_s,
        )

    def _pretend(self, asked: Outgoing) -> Answer:
        """What test credentials get: the checks and an answer, but nothing is kept, sent or called back."""
        if asked.service:
            fail(21701)
        if asked.sender != _MAGIC_SENDER:
            fail(_MAGIC_SENDERS.get(asked.sender, 21606), sender=asked.sender)
        if asked.to in _MAGIC_RECIPIENTS:
            fail(_MAGIC_RECIPIENTS[asked.to], to=asked.to, sender=asked.sender)
        message = self._make(asked)
        self._note("test_message", message)
        return Answer(201, _shown(message, TEST_ACCOUNT_SID))

    def _note(self, effect: str, message: Message) -> None:
        self.book.write(
            effect,
            id=message.sid,
            target={"to": message.to, "from": message.sender, "messaging_service_sid": message.service},
            reference=dict(parse_qsl(urlsplit(message.callback).query)).get("op"),
            to=message.to,
            body=message.body,
            segments=segments_of(message.body),
            status_callback=message.callback,
        )

    def _carry(self, call: Call, message: Message) -> None:
        """What becomes of a message at once."""
        stop = ""
        if call.fault is not None and call.has(Kind.SLOW_PENDING):
            stop = call.fault.code
            if stop in ("", "accepted", message.status):
                return
        if stop or call.has(Kind.LATE_FAILURE):
            events = self._advance(message, stop or "sent")
            if call.has(Kind.LATE_FAILURE):
                self.late.append(functools.partial(self._fail_late, message.sid))
        elif message.to in self.undelivered:
            events = self._advance(message, "undelivered", self.undelivered[message.to])
        else:
            events = self._advance(message, "delivered")
        self._tell(message, events)

    def _fail_late(self, sid: str) -> Record:
        message = self.messages[sid]
        if message.status in _WAY[:-1]:
            self._tell(message, self._advance(message, "undelivered"))
        return {"message": sid, "status": message.status, "error_code": message.error}

    # ------------------------------------------------------------ what becomes of a message

    def _advance(self, message: Message, status: str, error: int | None = None) -> list[Event]:
        """Takes a message through every status up to that one. Raises ValueError where no way leads there.

        Before it was handed to the carrier a message fails, afterwards it is undelivered.
        """
        start = _WAY.index(message.status) if message.status in _WAY[:-1] else len(_WAY)
        steps: tuple[str, ...] = ()
        match status:
            case "failed" if start < _WAY.index("sent"):
                steps = ("failed",)
            case "undelivered" if start < len(_WAY):
                steps = (*_WAY[start + 1 : -1], "undelivered")
            case "queued" | "sent" | "delivered":
                steps = _WAY[start + 1 : _WAY.index(status) + 1]
        if not steps:
            raise ValueError(f"a message that is {message.status} does not become {status!r}")
        return [self._happen(message, step, error) for step in steps]

    def _happen(self, message: Message, status: str, error: int | None) -> Event:
        now = self._now()
        message.status, message.updated = status, now
        if status in ("queued", "sent") and not message.sender:
            message.sender = self.services[message.service].senders[0]
        if status == "sent":
            message.sent = now
        if status in ("failed", "undelivered"):
            message.error = UNKNOWN_ERROR if error is None else error
        form = {
            "SmsSid": message.sid,
            "SmsStatus": status,
            "MessageStatus": status,
            "To": message.to,
            "MessagingServiceSid": message.service,
            "MessageSid": message.sid,
            "AccountSid": ACCOUNT_SID,
            "From": message.sender,
            "ApiVersion": VERSION,
            "ErrorCode": "" if message.error is None else str(message.error),
            "RawDlrDoneDate": f"{now:%y%m%d%H%M}" if status in ("delivered", "undelivered") else "",
        }
        return self._event(message.sid, status, {name: value for name, value in form.items() if value})

    def _event(self, sid: str, topic: str, form: Mapping[str, str]) -> Event:
        # The id is the same on each retry: it travels as the vendor's idempotency token.
        event = Event(str(uuid.uuid4()), topic, form)
        self._events[sid, topic] = event
        return event

    def _tell(self, message: Message, events: Sequence[Event]) -> None:
        """To the message's own callback address, else to whoever subscribed; never to both."""
        if message.callback:
            self.world.later(0.0, functools.partial(self._call_back, message.callback, events))
            return
        for event in events:
            self.emit(event)

    def _call_back(self, url: str, events: Sequence[Event]) -> None:
        """In the background, one after the other; tried once more only where no connection came about."""
        for event in events:
            if self.world.webhooks.send_now(self.name, event, url, AUTH_TOKEN) == 0:
                self.world.webhooks.send_now(self.name, event, url, AUTH_TOKEN)

    def _expire(self) -> None:
        """A message that waited longer than its validity is not sent any more."""
        now = self._now()
        for message in self.messages.values():
            is_waiting = message.status in ("accepted", "queued")
            if is_waiting and now > message.created + timedelta(seconds=message.validity_s):
                self._tell(message, self._advance(message, "failed", EXPIRED))

    # ------------------------------------------------------------ reading

    def _get_account(self, call: Call) -> Answer:
        """The account; its token is in the answer, as at the vendor."""
        uri = f"/{VERSION}/Accounts/{ACCOUNT_SID}"
        return Answer(
            200,
            {
                "auth_token": AUTH_TOKEN,
                "date_created": "Mon, 05 Jan 2026 09:00:00 +0000",
                "date_updated": "Mon, 05 Jan 2026 09:00:00 +0000",
                "friendly_name": "Practice shop",
                "owner_account_sid": ACCOUNT_SID,
                "sid": call.ids["account"],
                "status": "active",
                "subresource_uris": {"messages": f"{uri}/Messages.json"},
                "type": "Full",
                "uri": f"{uri}.json",
            },
        )

    def _get(self, call: Call) -> Answer:
        message = self.messages.get(call.ids["sid"])
        return self.not_found(call) if message is None else Answer(200, _shown(message))

    def _list(self, call: Call) -> Answer:
        """Newest first. The token names the message where a page ended or began, so that new ones shift nothing."""
        asked = dict(call.query_pairs)
        size = _read_size(asked)
        page = int(asked["Page"]) if asked.get("Page", "").isdecimal() else 0
        known = self._now() - timedelta(seconds=self.habits.list_delay_s)
        found = [each for each in self.messages.values() if each.created <= known]
        found = [each for each in found if self._is_wanted(each, asked)]
        found.reverse()
        found.sort(key=lambda each: each.sent or each.created, reverse=True)
        token = asked.get("PageToken", "")
        start = 0
        if token:
            sids = [each.sid for each in found]
            if token[:2] not in ("PA", "PB") or token[2:] not in sids:
                fail(20001, what="PageToken")
            at = sids.index(token[2:])
            start = at + 1 if token.startswith("PA") else max(at - size, 0)
        shown = found[start : start + size]
        is_more = start + size < len(found)
        filters = {name: value for name, value in asked.items() if not name.startswith("Page")}
        here = {**filters, "PageSize": str(size), "Page": str(page)}

        def uri(**more: str) -> str:
            return f"/{VERSION}/Accounts/{ACCOUNT_SID}/Messages.json?{urlencode({**here, **more})}"

        return Answer(
            200,
            {
                "first_page_uri": uri(Page="0"),
                "end": start + max(len(shown) - 1, 0),
                "previous_page_uri": uri(Page=str(page - 1), PageToken=f"PB{shown[0].sid}")
                if start > 0 and shown
                else None,
                "messages": [_shown(each) for each in shown],
                "uri": uri(**({"PageToken": token} if token else {})),
                "page_size": size,
                "start": start,
                "next_page_uri": uri(Page=str(page + 1), PageToken=f"PA{shown[-1].sid}") if is_more else None,
                "page": page,
            },
        )

    def _is_wanted(self, message: Message, asked: Mapping[str, str]) -> bool:
        if asked.get("To", message.to) != message.to or asked.get("From", message.sender) != message.sender:
            return False
        when = message.created if self.habits.finds_unsent_by_date else None
        when = message.sent or when
        for name in ("DateSent", "DateSent<", "DateSent>"):
            if not asked.get(name):
                continue
            first, last = _read_span(name, asked[name])
            if (
                when is None
                or (name != "DateSent<" and when < first)
                or (name != "DateSent>" and when > last)
            ):
                return False
        return True

    # ------------------------------------------------------------ what customers write

    def _scope(self, service: str, sender: str) -> str:
        """What an opt-out holds for: the messaging service, or a number that is in none."""
        of_sender = (each.sid for each in self.services.values() if sender in each.senders)
        return service or next(of_sender, sender)

    def _receive(self, sms: Record) -> tuple[Message, Event | None]:
        """Keeps an SMS that a customer wrote, and opts out or in by its word; no event where it is not forwarded.

        Raises KeyError for what is missing, ValueError for a number that is not ours.
        """
        customer, body, number = sms["from"], sms["body"], sms.get("to", NUMBER)
        if number not in self.senders:
            raise ValueError(f"twilio has no number {number!r}")
        scope = self._scope("", number)
        service = self.services.get(scope)
        message = self._keep(customer, number, scope if service else "", body, "inbound", "received")
        kind = self._heed(message, scope)
        if kind and not self.habits.forwards_keywords:
            return message, None
        form = {
            "MessageSid": message.sid,
            "SmsSid": message.sid,
            "SmsMessageSid": message.sid,
            "AccountSid": ACCOUNT_SID,
            "MessagingServiceSid": message.service,
            "From": customer,
            "To": number,
            "NumMedia": "0",
            "NumSegments": str(segments_of(body)),
            "SmsStatus": "received",
            "ApiVersion": VERSION,
            "OptOutType": kind if service is not None and service.has_advanced_opt_out else "",
        }
        told = {name: value for name, value in form.items() if value}
        return message, self._event(message.sid, "inbound", {**told, "Body": body})

    def _heed(self, message: Message, scope: str) -> str:
        """STOP, START or HELP where the whole SMS is such a word, and the vendor's own reply to it; else nothing."""
        word, customer = message.body.strip().upper(), message.sender
        is_out = (scope, customer) in self.opted_out
        if word in STOP_WORDS:
            kind, reply = "STOP", "You have been unsubscribed. Reply START to resubscribe."
        elif word in START_WORDS:
            kind, reply = "START", "You have been resubscribed."
        elif word in HELP_WORDS:
            kind, reply = "HELP", "Reply STOP to unsubscribe."
        else:
            return ""
        if kind == "STOP":
            self.opted_out.add((scope, customer))
        if kind == "START":
            self.opted_out.discard((scope, customer))
        if kind != "HELP" and is_out == (kind == "START"):
            self.book.write(
                "opt_out" if kind == "STOP" else "opt_in",
                id=message.sid,
                target={"customer": customer, "scope": scope},
                reference=customer,
            )
        # Who has opted out hears nothing more, and who is in already is not told so again.
        if is_out == (kind == "START"):
            self._keep(message.to, customer, message.service, reply, "outbound-reply", "delivered")
        return kind

    def _keep(self, sender: str, to: str, service: str, body: str, direction: str, status: str) -> Message:
        now = self._now()
        message = Message(
            f"SM{uuid.uuid4().hex}", to, sender, service, body, direction, status, now, now, now
        )
        self.messages[message.sid] = message
        return message

    # ------------------------------------------------------------ webhooks

    def event_for(self, topic: str, object_id: str) -> Event:
        """A status that the message had, or `inbound`; and the message's sid."""
        event = self._events.get((object_id, topic))
        if event is None:
            raise NoSuchObjectError(f"twilio tells nothing {topic!r} about {object_id!r}")
        return event

    def sign(self, event: Event, url: str, secret: str) -> Delivery:
        """A form, and HMAC-SHA1 over the address as called and the sorted form; `secret` is the account's token.

        There is no time stamp: a copy of an old request is as valid as the first one.
        """
        form: Mapping[str, str] = event.body
        address = url.partition("#")[0]
        parts = urlsplit(address)
        if not self.habits.signs_port and parts.port is not None:
            address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition(":")[0]))
        headers = {
            "Content-Type": f"{_FORM}; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1 (practice)",
            "I-Twilio-Idempotency-Token": event.id,
            "X-Twilio-Signature": signature_of(secret, address, form.items()),
        }
        return Delivery(headers, urlencode(form).encode())

    def _now(self) -> datetime:
        # The vendor's times have no fractions of a second.
        return self.world.clock().replace(microsecond=0)


# ---------------------------------------------------------------- requests read


def _read_form(call: Call) -> dict[str, str]:
    """The fields; anything but a form has none."""
    return dict(call.form_pairs) if call.content_type == _FORM else {}


def _read_outgoing(call: Call) -> Outgoing:
    """The message asked for. Ends the call where something is missing or malformed."""
    asked = _read_form(call)
    to, sender, service, body, callback = (
        asked.get(name, "") for name in ("To", "From", "MessagingServiceSid", "Body", "StatusCallback")
    )
    if not to:
        fail(21604)
    if not sender and not service:
        fail(21603)
    if asked.get("SmartEncoded", "").lower() == "true":
        body = body.translate(_SMART)
    if not body.strip():
        fail(21602)
    if len(body) > BODY_MOST:
        fail(21617)
    if not _E164.fullmatch(to):
        fail(21211, to=to)
    if callback and not _is_callback(callback):
        fail(21609, what=callback)
    validity = asked.get("ValidityPeriod") or str(VALIDITY_MOST_S)
    if not re.fullmatch(r"\d{1,5}", validity) or not 1 <= int(validity) <= VALIDITY_MOST_S:
        fail(21624, what=validity)
    return Outgoing(to, sender, service, body, callback, int(validity))


def _is_callback(url: str) -> bool:
    try:
        address = urlsplit(url)
        host = address.hostname or ""
        _ = address.port
    except ValueError:
        return False
    return (
        len(url) <= CALLBACK_MOST
        and url.isascii()
        and not re.search(r"\s", url)
        and address.scheme in ("http", "https")
        and _HOST.fullmatch(host) is not None
    )


def _read_size(asked: Mapping[str, str]) -> int:
    size = asked.get("PageSize") or str(PAGE_SIZE)
    if not size.isdecimal() or int(size) < 1:
        fail(20001, what="PageSize")
    if int(size) > PAGE_SIZE_MOST:
        fail(20007)
    return int(size)


def _read_span(name: str, text: str) -> tuple[datetime, datetime]:
    """First and last moment of what was named: a whole day of GMT, or one second."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(20001, what=name)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if _DAY.fullmatch(text):
        return moment, moment + timedelta(days=1, seconds=-1)
    return moment, moment


# ---------------------------------------------------------------- answers


def _shown(message: Message, account: str = ACCOUNT_SID) -> Record:
    """A message as the vendor shows it. With a messaging service it has no sender and no segments before it is queued."""
    uri = f"/{VERSION}/Accounts/{account}/Messages/{message.sid}"
    segments = segments_of(message.body)
    is_assigned = message.status != "accepted" and bool(message.sender)
    return {
        "account_sid": account,
        "api_version": VERSION,
        "body": message.body,
        "date_created": format_datetime(message.created),
        "date_sent": format_datetime(message.sent) if message.sent else None,
        "date_updated": format_datetime(message.updated),
        "direction": message.direction,
        "error_code": message.error,
        "error_message": _MISHAPS.get(message.error, "Unknown error") if message.error else None,
        "from": message.sender or None,
        "messaging_service_sid": message.service or None,
        "num_media": "0",
        "num_segments": str(segments) if is_assigned else "0",
        "price": f"-{segments * 0.0079:.5f}" if message.sent else None,
        "price_unit": "USD",
        "sid": message.sid,
        "status": message.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }
