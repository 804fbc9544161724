"""Slack: tells the staff, and lets them decide. Advisory only: a message that fails never holds up or undoes anything else.

Web API without a version number; methods described by slackapi/slack-api-specs bc08db4 (2021, archived), message metadata
and newer errors by slackapi/python-slack-sdk ae87985 and docs.slack.dev (read 2026-11-23; interactions 2026-11-25). Two ways
in, one platform: a bot token (`Slack`, the better one: a message can be found again and changed), or an incoming webhook
(`SlackWebhook`). Clicks on buttons come back to `SlackInbound`, signed with the app's signing secret.

Quirks
- HTTP 200 says nothing: `ok` in the body does.
- Nothing keeps a repeated call from posting twice. Our reference travels in the message's metadata, and the channel's
  history is read for it. A webhook leaves nothing to look for: after a lost answer it is not posted again, because a
  missing notice is better than two.
- A later report takes the place of the earlier one (`chat.update`), with its own reference in the metadata. What is not sent
  with an update stays: blocks always go along, or the buttons of a decided case would still be there. A message that Slack
  says cannot be changed any more is followed by a new one.
- `fatal_error` and `internal_error` may come after the message was posted, by the vendor's own words.
- `text` is markup too: `&`, `<` and `>` are escaped in it, or a customer's name could call `<!channel>`.
- An incoming webhook's address is its secret.
- A click says which button, on which message, and who; nothing else in it is believed. Buttons are only shown where a signing
  secret is set, because without one nobody would hear the click. Slack does not repeat an interaction: the person clicks again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from refundflow.connectors.base import Capability, Health, Idempotency, Operation, Spec
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import case_of, opened_at
from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    Irrelevant,
    MalformedError,
    OperatorWord,
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
from refundflow.domain.plan import REPORT
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json
from refundflow.transport.signatures import is_any, is_fresh, sign_hex, split_secrets

_DOC: Final = "https://docs.slack.dev/reference/methods"

#: Both ways in show buttons, and both get their clicks at the app's one request URL.
_INTERACTIONS: Final = Operation(
    "X-Slack-Signature", Idempotency.READ, "https://docs.slack.dev/interactivity/handling-user-interaction"
)

SPEC: Final = Spec(
    platform="slack",
    api_version="unversioned",
    base_url="https://slack.com/api/",
    operations={
        Capability.SEND_MESSAGE: Operation(
            "POST /chat.postMessage, /chat.update", Idempotency.LOOKUP, f"{_DOC}/chat.postMessage"
        ),
        Capability.CHECK: Operation("GET /auth.test", Idempotency.READ, f"{_DOC}/auth.test"),
        Capability.INBOUND: _INTERACTIONS,
    },
    # One message a second per channel is allowed, short bursts too.
    rate_per_s=0.9,
    burst=3,
    redact=frozenset({"blocks", "text", "token"}),
)

WEBHOOK_SPEC: Final = Spec(
    platform="slack",
    api_version="unversioned",
    base_url="https://hooks.slack.com",
    operations={
        Capability.SEND_MESSAGE: Operation(
            "POST /services/…",
            Idempotency.NONE,
            "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
        ),
        Capability.CHECK: Operation("none: the address can only be posted to", Idempotency.READ),
        Capability.INBOUND: _INTERACTIONS,
    },
    rate_per_s=0.9,
    burst=3,
    redact=frozenset({"blocks", "text"}),
)

_NO_SECRET: Final = Secret("")

#: A post whose answer was lost can still be running when our time limit ends; a minute later it is in the history or was
#: never posted.
_SETTLED_S: Final = 60.0

#: Our clock and the vendor's differ; the look starts this much before the case was opened.
_CLOCK_MARGIN_S: Final = 600

_PAGE: Final = 200
_MAX_PAGES: Final = 25

#: Slack advises to keep `text` below 4,000 characters; with blocks it is only the notification.
_TEXT_CHARS: Final = 3_500


@dataclass(frozen=True, slots=True)
class Credentials:
    """A bot token (`chat:write`, and `channels:history` or `groups:history` for looking up) or an incoming webhook.
    `channel`: the id of the channel for messages that name none. `signing_secret`: the app's, for the buttons (its
    interactivity must be switched on, with the front door's address); without it no message has any.
    """

    bot_token: Secret = _NO_SECRET
    channel: str = ""
    webhook_url: Secret = _NO_SECRET
    base_url: str = SPEC.base_url
    signing_secret: Secret = _NO_SECRET

    @property
    def inbound(self) -> SlackInbound:
        """The reader of this app's interactions."""
        return SlackInbound(self.signing_secret)


def build(credentials: Credentials, wire: Wire) -> Slack | SlackWebhook:
    """The connector on a wire: by bot token where there is one, because only then can a message be found again.

    Raises ValueError where there is neither a token nor a webhook.
    """
    if credentials.bot_token:
        return Slack(
            wire.http(
                platform=SPEC.platform,
                base_url=credentials.base_url.rstrip("/"),
                rate_per_s=SPEC.rate_per_s,
                burst=SPEC.burst,
                connect_s=SPEC.connect_s,
                read_s=SPEC.read_s,
                headers={"Authorization": f"Bearer {credentials.bot_token.reveal()}"},
                redact=SPEC.redact,
            ),
            credentials.channel,
            bool(credentials.signing_secret),
        )
    if credentials.webhook_url:
        return SlackWebhook(
            wire.http(
                platform=WEBHOOK_SPEC.platform,
                base_url=credentials.webhook_url.reveal(),
                rate_per_s=WEBHOOK_SPEC.rate_per_s,
                burst=WEBHOOK_SPEC.burst,
                connect_s=WEBHOOK_SPEC.connect_s,
                read_s=WEBHOOK_SPEC.read_s,
                # The wire strikes out the value of a secret header wherever it turns up, and so the address's path, which
                # is the whole secret, out of the URLs that the audit keeps. Slack takes no notice of the header.
                headers={"X-Api-Key": urlsplit(credentials.webhook_url.reveal()).path.strip("/")},
                redact=WEBHOOK_SPEC.redact,
            ),
            bool(credentials.signing_secret),
        )
    raise ValueError("Slack needs a bot token or an incoming webhook")


@dataclass(frozen=True, slots=True)
class Slack:
    """A workspace through an app's bot token. `channel`: where a message goes that names no channel; `takes_clicks`: whether
    somebody hears a button that is pressed.
    """

    spec: ClassVar[Spec] = SPEC
    http: Http
    channel: str = ""
    takes_clicks: bool = True

    def check(self) -> Health:
        return read_health(self.http.send(Request("GET", "/auth.test", "slack.check")))

    def send_message(self, command: SendMessage) -> Outcome:
        """Changes the message that this one takes the place of; where there is none, or Slack says outright that it cannot be
        changed any more, a new one is posted.
        """
        replaced = place_of(command.updates)
        if replaced is not None:
            request = update_request(command, *replaced, takes_clicks=self.takes_clicks)
            match read_update(self.http.send(request)):
                case NotFound():
                    pass
                case outcome:
                    return outcome
        channel = command.to or self.channel
        if not channel:
            return Permanent("no_channel", "no Slack channel is set for this message")
        return read_post(self.http.send(post_request(command, channel, takes_clicks=self.takes_clicks)))

    def find_send_message(self, command: SendMessage) -> Found:
        """Reads the history since the case was opened for a message with our reference: of the channel of the message that this
        one takes the place of, and of the one that a new message goes to.
        """
        replaced = place_of(command.updates)
        channels = dict.fromkeys([*(replaced[:1] if replaced else ()), command.to or self.channel])
        looks = [self._find_in(channel, command) for channel in channels]
        # Found in one of them is found; absence must be proven in all.
        return next(
            (look for kind in (Done | AlreadyDone, Unknown) for look in looks if isinstance(look, kind)),
            looks[0],
        )

    def _find_in(self, channel: str, command: SendMessage) -> Found:
        cursor = ""
        for _ in range(_MAX_PAGES):
            match read_history(self.http.send(history_request(command, channel, cursor)), command, channel):
                case str() as next_cursor:
                    cursor = next_cursor
                case found:
                    return found
        return Unknown(
            f"more than {_MAX_PAGES * _PAGE} messages in the channel since the case was opened, and none is ours"
        )


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    """One channel through an incoming webhook. `http` has the webhook's address as its base, so that no request spells
    it. What it has posted cannot be changed: every report is a new message, and old buttons stay (a late click on them is
    refused by whoever looks at the case).
    """

    spec: ClassVar[Spec] = WEBHOOK_SPEC
    http: Http
    takes_clicks: bool = True

    def check(self) -> Health:
        return Health(
            True,
            "set up, not checked: an incoming webhook can only be tried by posting to its channel. A bot token can be "
            "checked, and its messages can be found again.",
        )

    def send_message(self, command: SendMessage) -> Outcome:
        return read_webhook(self.http.send(webhook_request(command, takes_clicks=self.takes_clicks)))

    def find_send_message(self, command: SendMessage) -> Found:
        return NotFound(None, f"an incoming webhook keeps no list of its messages ({command.template})")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def post_request(command: SendMessage, channel: str, *, takes_clicks: bool = True) -> Request:
    return Request(
        "POST",
        "/chat.postMessage",
        "slack.send_message",
        headers=_JSON,
        json={
            "channel": channel,
            **content(command, takes_clicks=takes_clicks),
            "metadata": metadata_of(command),
        },
    )


def update_request(command: SendMessage, channel: str, ts: str, *, takes_clicks: bool = True) -> Request:
    """Blocks are always said: without a word about them the old ones, and their buttons, would stay."""
    shown = content(command, takes_clicks=takes_clicks)
    return Request(
        "POST",
        "/chat.update",
        "slack.send_message.update",
        headers=_JSON,
        json={
            "channel": channel,
            "ts": ts,
            "text": shown["text"],
            "blocks": shown.get("blocks", []),
            "metadata": metadata_of(command),
        },
    )


_JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json; charset=utf-8"}


def metadata_of(command: SendMessage) -> dict[str, Any]:
    return {
        "event_type": "refundflow_case",
        "event_payload": {"case": case_of(command.step_key), "op": command.step_key},
    }


def place_of(reference: str) -> tuple[str, str] | None:
    """Channel and time stamp of a reference of ours; None for anything else (a webhook leaves none, a person writes words)."""
    found = re.fullmatch(r"([A-Z0-9]{2,40}):([0-9]{1,12}\.[0-9]{1,9})", reference)
    return (found[1], found[2]) if found else None


def webhook_request(command: SendMessage, *, takes_clicks: bool = True) -> Request:
    return Request("POST", "", "slack.send_message", json=content(command, takes_clicks=takes_clicks))


def content(command: SendMessage, *, takes_clicks: bool = True) -> dict[str, Any]:
    """What is shown. `text` stands in notifications and wherever blocks cannot be shown; blocks that cannot be read are
    left out, because a plain notice is better than none. `takes_clicks` False: buttons are left out too.
    """
    words = command.text if len(command.text) <= _TEXT_CHARS else command.text[: _TEXT_CHARS - 1] + "…"
    shown: dict[str, Any] = {"text": escape(words), "unfurl_links": False, "unfurl_media": False}
    match parse_json(command.blocks.encode()):
        case [dict(), *_] as blocks if len(blocks) <= 50:
            kept = [block for block in blocks if takes_clicks or not _is_actions(block)]
            return {**shown, "blocks": kept}
        case _:
            return shown


def _is_actions(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "actions"


def escape(text: str) -> str:
    """Text that Slack shows as it is: only these three characters can begin a mention, a link or an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def history_request(command: SendMessage, channel: str, cursor: str) -> Request:
    oldest = max(0, opened_at(command.step_key) - _CLOCK_MARGIN_S)
    return Request(
        "GET",
        "/conversations.history",
        "slack.find_send_message",
        params=(
            ("channel", channel),
            ("oldest", str(oldest)),
            ("include_all_metadata", "true"),
            ("limit", str(_PAGE)),
            *((("cursor", cursor),) if cursor else ()),
        ),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Answers


def read_post(response: Response) -> Outcome:
    match response.status, response.json:
        case 200, {"ok": True, "channel": str(channel), "ts": str(ts)} if channel and ts:
            return Done(reference_of(channel, ts))
        case (429, _) | (200, {"ok": False, "error": "ratelimited" | "rate_limited"}):
            return throttled(response)
        case 200 | 400 | 401 | 403 | 404, {"ok": False, "error": str(code)}:
            return ERRORS.get(code) or Unknown(f"Slack answered with the error {code!r}")
        case 401 | 403, _:
            return UNAUTHORISED
        case _:
            return unreadable(response)


def read_update(response: Response) -> Outcome | NotFound:
    """As `read_post`; NotFound where Slack itself says that this message cannot be changed: then nothing was, for certain."""
    match response.status, response.json:
        case 200, {"ok": False, "error": str(code)} if code in UNCHANGEABLE:
            return NotFound(reason=UNCHANGEABLE[code])
        case _:
            return read_post(response)


def reference_of(channel: str, ts: str) -> str:
    """A message's id: both parts are needed to change it or to answer in its thread."""
    return f"{channel}:{ts}"


def throttled(response: Response) -> Retryable:
    return Retryable("throttled", "Slack asks us to slow down", response.retry_after_s)


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Slack, status {response.status}")


def read_history(response: Response, command: SendMessage, channel: str) -> Found | str:
    """Our message, or where to read on. A look that failed says nothing about the effect, whatever its error.

    A report that a later one of the same case replaced is not posted after it: its words are old.
    """
    match response.status, response.json:
        case 200, {"ok": True, "messages": list(messages), **rest}:
            ops = [said for message in messages if (said := _op_of(message))]
            for op, ts in ops:
                if op == command.step_key:
                    return Done(reference_of(channel, ts))
            for op, ts in ops:
                if command.template == REPORT and is_later(op, command.step_key):
                    return AlreadyDone(reference_of(channel, ts), "a later report of the case took its place")
            match rest:
                case {"response_metadata": {"next_cursor": str(cursor)}} if cursor:
                    return cursor
                case {"has_more": True}:
                    return Unknown("Slack has more messages and does not say where to read on")
                case _:
                    return NotFound(_SETTLED_S, "no message in the channel's history carries our reference")
        case 429, _:
            return Unknown("Slack asks us to slow down, so the look for the message has to wait")
        case _, {"ok": False, "error": str(code)}:
            return Unknown(
                f"Slack did not let us read the channel's history: {code!r} (the app needs channels:history, or "
                "groups:history for a private channel, and must be a member of the channel)"
            )
        case _:
            return unreadable(response)


def _op_of(message: Any) -> tuple[str, str] | None:
    """The step that a message carries, and its time stamp; None for messages that are not ours."""
    match message:
        case {"ts": str(ts), "metadata": {"event_payload": {"op": str(op)}}}:
            return op, ts
        case _:
            return None


def is_later(op: str, step_key: str) -> bool:
    """Whether a step is of the same case and kind, and was planned after this one (`<case>.<kind>.<number>`)."""
    theirs, ours = op.rpartition("."), step_key.rpartition(".")
    are_numbers = all(re.fullmatch(r"[0-9]{1,9}", each[2]) for each in (theirs, ours))
    return are_numbers and theirs[0] == ours[0] and int(theirs[2]) > int(ours[2])


def read_webhook(response: Response) -> Outcome:
    words = response.text.strip()
    match response.status:
        case 200 if words == "ok":
            return Done("", "posted; an incoming webhook tells no message id")
        case 429:
            return throttled(response)
        case 401 | 403 if words not in WEBHOOK_ERRORS:
            return Retryable("unauthorised", "Slack refused the webhook: give a new webhook address")
        case status if 400 <= status < 500 and words in WEBHOOK_ERRORS:
            return WEBHOOK_ERRORS[words]
        case _:
            return unreadable(response)


def read_health(response: Response) -> Health:
    match response.status, response.json:
        case 200, {"ok": True, "team": str(team), "user": str(user)}:
            return Health(True, f"Slack workspace {team}, as {user}")
        case _, {"ok": False, "error": str(code)}:
            match ERRORS.get(code):
                case Retryable(reason=reason) | Permanent(reason=reason):
                    return Health(False, f"{code}: {reason}")
                case _:
                    return Health(False, f"Slack answered with the error {code!r}")
        case status, _:
            return Health(False, f"Slack answered with status {status}")


# ---------------------------------------------------------------------------------------------------------------------
# The vendor's error codes

UNAUTHORISED: Final = Retryable(
    "unauthorised", "Slack refused the bot token: give a valid one, with all scopes"
)


def _refusals(codes: Mapping[str, str]) -> dict[str, Permanent]:
    return {code: Permanent(code, advice) for code, advice in codes.items()}


#: `chat.postMessage`: what an `error` means. A code that is not here may have come after the message was posted.
ERRORS: Final[Mapping[str, Retryable | Permanent]] = {
    "request_timeout": Retryable("not_sent", "the request reached Slack cut short"),
    **dict.fromkeys(
        ("account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"), UNAUTHORISED
    ),
    **dict.fromkeys(
        ("ekm_access_denied", "missing_scope", "no_permission"),
        Retryable(
            "unauthorised", "the Slack app may not post: give it the scope chat:write and install it again"
        ),
    ),
    **_refusals(
        {
            "channel_not_found": "there is no such channel, or the app may not see it: use the channel's id",
            **dict.fromkeys(
                (
                    "invalid_arg_name",
                    "invalid_arguments",
                    "invalid_array_arg",
                    "invalid_charset",
                    "invalid_form_data",
                    "invalid_json",
                    "invalid_post_type",
                    "json_not_object",
                    "missing_post_type",
                ),
                "Slack cannot read the call",
            ),
            "invalid_blocks": "Slack cannot read the message's blocks",
            "invalid_blocks_format": "Slack cannot read the message's blocks",
            "is_archived": "the channel is archived",
            "metadata_too_large": "the message's metadata is too large",
            "msg_blocks_too_long": "the message's blocks are too long",
            "msg_too_long": "the message is too long",
            "no_text": "the message is empty",
            "not_in_channel": "the app is not in the channel: invite it",
            "restricted_action": "the workspace's settings forbid the app to post there",
            "too_many_attachments": "the message has too many attachments",
        }
    ),
}

#: `chat.update`: what says for certain that a message cannot be changed (any more).
UNCHANGEABLE: Final[Mapping[str, str]] = {
    "cant_update_message": "the message is another app's",
    "channel_not_found": "the message's channel is gone, or the app may not see it",
    "edit_window_closed": "the workspace lets messages be changed for a while only",
    "is_archived": "the message's channel is archived",
    "is_inactive": "the message's channel is frozen",
    "message_not_found": "the message was deleted",
}

#: An incoming webhook answers in plain text. All but a wrong token stay as they are until somebody changes the channel
#: or the webhook.
WEBHOOK_ERRORS: Final[Mapping[str, Retryable | Permanent]] = {
    "invalid_token": Retryable(
        "unauthorised", "the webhook's token is not valid: give a new webhook address"
    ),
    **_refusals(
        {
            "action_prohibited": "the workspace's settings forbid this post",
            "channel_is_archived": "the channel is archived",
            "channel_not_found": "the webhook's channel is gone",
            "invalid_payload": "Slack cannot read the message",
            "no_active_hooks": "the webhook is switched off",
            "no_service": "the webhook was removed: give a new webhook address",
            "no_team": "the workspace is gone",
            "no_text": "the message is empty",
            "posting_to_general_channel_denied": "the webhook may not post to the general channel",
            "too_many_attachments": "the message has too many attachments",
        }
    ),
}


# ---------------------------------------------------------------------------------------------------------------------
# Inbound: what people press

#: The buttons of a report about a held case. Their value is the case's id.
APPROVE: Final = "refundflow.approve"
DECLINE: Final = "refundflow.decline"

#: As the vendor's own libraries have it.
_TOLERANCE_S: Final = 300.0

_CLICK: Final = "block_actions"
_CASE_ID: Final = re.compile(r"RF-[0-9A-HJKMNP-TV-Z]{15}")


@dataclass(frozen=True, slots=True)
class SlackInbound:
    """Interactions of one app (https://docs.slack.dev/authentication/verifying-requests-from-slack, read 2026-11-25).

    `signing_secret`: the app's; several, separated by commas, hold while one is replaced by another. Who may decide is not known
    here: a word says who spoke.
    """

    platform: ClassVar[str] = SPEC.platform
    signing_secret: Secret

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused | Greeting:
        """The message is the scheme's version, the time as sent, and the raw body."""
        secrets = split_secrets(self.signing_secret.reveal())
        if not secrets:
            return Refused("no signing secret is set")
        timestamp = delivery.headers.get("x-slack-request-timestamp", "")
        given = delivery.headers.get("x-slack-signature", "")
        if not re.fullmatch(r"[0-9]{1,12}", timestamp) or not given:
            return Refused("the signature or its time is missing or cannot be read")
        message = b"v0:" + timestamp.encode() + b":" + delivery.body
        if not is_any([f"v0={sign_hex(secret, message)}" for secret in secrets], [given]):
            return Refused("the signature does not match")
        if not is_fresh(int(timestamp), now, _TOLERANCE_S):
            return Refused(f"the signature is not from the last {_TOLERANCE_S:.0f} seconds")
        match read_payload(delivery.body):
            case {"type": "url_verification"}:
                # Only the Events API asks for an echo, and no event of it is wanted.
                return Greeting("Slack tries the address out for the Events API, which is not used")
            case {"ssl_check": _}:
                return Greeting("Slack tries the certificate")
            case {"type": str(topic)} as payload if re.fullmatch(r"[a-z_]{1,60}", topic):
                return Verified(event_id(payload, delivery.body), topic)
            case _:
                return Refused("the body is no interaction")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """A press of one of our two buttons. Raises MalformedError where one lacks what it must have."""
        if topic != _CLICK:
            return Irrelevant(f"{topic} asks nothing of us")
        payload = read_payload(body)
        match payload:
            case {"actions": list(actions)}:
                pass
            case _:
                raise MalformedError("actions", "is missing")
        pressed = [
            (index, action)
            for index, action in enumerate(actions)
            if isinstance(action, dict) and action.get("action_id") in (APPROVE, DECLINE)
        ]
        match pressed:
            case []:
                return Irrelevant("no button of ours")
            case [(index, action)]:
                return OperatorWord(
                    SPEC.platform,
                    case_id=_read_case_id(action, index),
                    is_approved=action["action_id"] == APPROVE,
                    member=_read_member(payload),
                )
            case _:
                raise MalformedError("actions", "says two things at once")


def read_payload(body: bytes) -> Any:
    """An interaction's JSON: in the form's one field, or the body itself. A form without it is given as its fields."""
    told = parse_json(body)
    if told is not None:
        return told
    fields = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return parse_json(fields["payload"].encode()) if "payload" in fields else fields


def event_id(payload: Mapping[str, Any], body: bytes) -> str:
    """The same however often one interaction comes: who acted, and when, by Slack's own clock. A second click is another one."""
    match payload:
        case {"user": {"id": str(user)}, "actions": [{"action_ts": str(at)}, *_]} if user and at:
            return f"{user}:{at}"
        case {"trigger_id": str(trigger)} if trigger:
            return trigger
        case _:
            return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _read_case_id(action: Mapping[str, Any], index: int) -> str:
    match action.get("value"):
        case str() as case_id if _CASE_ID.fullmatch(case_id):
            return case_id
        case _:
            raise MalformedError(f"actions[{index}].value", "is no case's id")


def _read_member(payload: Mapping[str, Any]) -> str:
    match payload.get("user"):
        case {"id": str(member)} if re.fullmatch(r"[A-Z0-9]{2,40}", member):
            return member
        case _:
            raise MalformedError("user.id", "is no member's id")
