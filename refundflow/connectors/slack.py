"""Slack: tells the staff. Advisory only: a message that fails never holds up or undoes anything else.

Web API without a version number; methods described by slackapi/slack-api-specs bc08db4 (2021, archived), message metadata
and newer errors by slackapi/python-slack-sdk ae87985 and docs.slack.dev (read 2026-11-23). Two ways in, one platform: a
bot token (`Slack`, the better one: a message can be found again), or an incoming webhook (`SlackWebhook`).

Quirks
- HTTP 200 says nothing: `ok` in the body does.
- Nothing keeps a repeated call from posting twice. Our reference travels in the message's metadata, and the channel's
  history is read for it. A webhook leaves nothing to look for: after a lost answer it is not posted again, because a
  missing notice is better than two.
- `fatal_error` and `internal_error` may come after the message was posted, by the vendor's own words.
- `text` is markup too: `&`, `<` and `>` are escaped in it, or a customer's name could call `<!channel>`.
- An incoming webhook's address is its secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from refundflow.connectors.base import Capability, Health, Idempotency, Operation, Spec
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import case_of, opened_at
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Http, Request, Response, Wire, parse_json

_DOC: Final = "https://docs.slack.dev/reference/methods"

SPEC: Final = Spec(
    platform="slack",
    api_version="unversioned",
    base_url="https://slack.com/api/",
    operations={
        Capability.SEND_MESSAGE: Operation(
            "POST /chat.postMessage", Idempotency.LOOKUP, f"{_DOC}/chat.postMessage"
        ),
        Capability.CHECK: Operation("GET /auth.test", Idempotency.READ, f"{_DOC}/auth.test"),
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
    `channel`: the id of the channel for messages that name none.
    """

    bot_token: Secret = _NO_SECRET
    channel: str = ""
    webhook_url: Secret = _NO_SECRET
    base_url: str = SPEC.base_url
    signing_secret: Secret = _NO_SECRET


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
            )
        )
    raise ValueError("Slack needs a bot token or an incoming webhook")


@dataclass(frozen=True, slots=True)
class Slack:
    """A workspace through an app's bot token. `channel`: where a message goes that names no channel."""

    spec: ClassVar[Spec] = SPEC
    http: Http
    channel: str = ""

    def check(self) -> Health:
        return read_health(self.http.send(Request("GET", "/auth.test", "slack.check")))

    def send_message(self, command: SendMessage) -> Outcome:
        channel = command.to or self.channel
        if not channel:
            return Permanent("no_channel", "no Slack channel is set for this message")
        return read_post(self.http.send(post_request(command, channel)))

    def find_send_message(self, command: SendMessage) -> Found:
        """Reads the channel's history since the case was opened for a message with our reference."""
        channel = command.to or self.channel
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
    it.
    """

    spec: ClassVar[Spec] = WEBHOOK_SPEC
    http: Http

    def check(self) -> Health:
        return Health(
            True,
            "set up, not checked: an incoming webhook can only be tried by posting to its channel. A bot token can be "
            "checked, and its messages can be found again.",
        )

    def send_message(self, command: SendMessage) -> Outcome:
        return read_webhook(self.http.send(webhook_request(command)))

    def find_send_message(self, command: SendMessage) -> Found:
        return NotFound(None, f"an incoming webhook keeps no list of its messages ({command.template})")


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def post_request(command: SendMessage, channel: str) -> Request:
    return Request(
        "POST",
        "/chat.postMessage",
        "slack.send_message",
        headers={"Content-Type": "application/json; charset=utf-8"},
        json={
            "channel": channel,
            **content(command),
            "metadata": {
                "event_type": "refundflow_case",
                "event_payload": {"case": case_of(command.step_key), "op": command.step_key},
            },
        },
    )


def webhook_request(command: SendMessage) -> Request:
    return Request("POST", "", "slack.send_message", json=content(command))


def content(command: SendMessage) -> dict[str, Any]:
    """What is shown. `text` stands in notifications and wherever blocks cannot be shown; blocks that cannot be read are
    left out, because a plain notice is better than none.
    """
    words = command.text if len(command.text) <= _TEXT_CHARS else command.text[: _TEXT_CHARS - 1] + "…"
    shown: dict[str, Any] = {"text": escape(words), "unfurl_links": False, "unfurl_media": False}
    match parse_json(command.blocks.encode()):
        case [dict(), *_] as blocks if len(blocks) <= 50:
            return {**shown, "blocks": blocks}
        case _:
            return shown


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


def reference_of(channel: str, ts: str) -> str:
    """A message's id: both parts are needed to change it or to answer in its thread."""
    return f"{channel}:{ts}"


def throttled(response: Response) -> Retryable:
    return Retryable("throttled", "Slack asks us to slow down", response.retry_after_s)


def unreadable(response: Response) -> Unknown:
    return Unknown(f"unreadable answer from Slack, status {response.status}")


def read_history(response: Response, command: SendMessage, channel: str) -> Found | str:
    """Our message, or where to read on. A look that failed says nothing about the effect, whatever its error."""
    match response.status, response.json:
        case 200, {"ok": True, "messages": list(messages), **rest}:
            for message in messages:
                match message:
                    case {"ts": str(ts), "metadata": {"event_payload": {"op": command.step_key}}}:
                        return Done(reference_of(channel, ts))
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
