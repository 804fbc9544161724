"""Practice Slack: the Web API methods that post, edit and read messages, and incoming webhooks, under `/slack/`.

Paths: `/api/<method>` (slack.com/api) and `/services/T…/B…/…` (hooks.slack.com). Shapes: the vendor's archived OpenAPI
description 1.7.0 and https://docs.slack.dev, read 2026-11-23. Where they are silent, `Habits` names the practised reading.

Strict about: HTTP 200 for errors too (`ok: false`), bearer token and scopes, channel membership and archiving, text,
blocks, metadata that only shows when asked for, who may edit a message. Nothing here is idempotent: a message posted twice
is there twice.

`seed({"channels": [{"id", "name", "is_private"?, "is_archived"?, "is_member"?}], "scopes"?: […], "webhooks":
[{"path", "channel", "is_active"?}], "people": [{"id", "username"}], "habits"?: {…}})`. A fresh workspace has the public channel
`CHANNEL`, the webhook `WEBHOOK_PATH` into it, and the person `PERSON`.

`settle` takes `{"click": "<action_id>", "ts": …, "user"?}` (a person presses a button: the interaction goes to whoever
subscribed), `{"delete": "<ts>"}` (a person deletes a message), `{"channel": …, "is_archived" | "is_member": bool}` or
`{"webhook": "<path>", "is_active": bool}`.

Book: `post_message` (text, channel, ts, metadata; `via` is api or webhook) and `update_message`. `reference` is the metadata's
payload.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
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

TOKEN: Final = "xoxb-practice-bot-token"  # noqa: S105 (a practice secret, known to everybody)
TEAM: Final = "T0PRACTICE"
APP: Final = "A0PRACTICE"
BOT: Final = "B0PRACTICE"
BOT_USER: Final = "U0PRACTBOT"
PERSON: Final = "U0PERSON01"
CHANNEL: Final = "C0PRACTICE"
WEBHOOK_PATH: Final = "/services/T0PRACTICE/B0PRACTICE/practicewebhooksecret0001"
DOMAIN: Final = "practice-shop"

BLOCKS_MOST: Final = 50
TEXT_MOST: Final = 40_000
SECTION_MOST: Final = 3_000
PAGE_SIZE: Final = 100
PAGE_SIZE_MOST: Final = 999

_SCOPES: Final = ("chat:write", "chat:write.public", "channels:history", "groups:history")
_TS: Final = re.compile(r"\d{10}\.\d{6}")
_BLOCK_TYPES: Final = (
    "section",
    "header",
    "divider",
    "context",
    "actions",
    "image",
    "rich_text",
    "video",
    "file",
    "markdown",
)
_FORM: Final = "application/x-www-form-urlencoded"
_OK: Final = Answer(200, "ok", content_type="text/html")


@dataclass(slots=True)
class Habits:
    """What the vendor does not promise in writing, or what a rehearsal wants otherwise.

    `needs_text`: blocks without the plain text that notifications show are refused (the vendor only warns about them).
    `edit_window_s`: how long a message can be edited (None: for ever).
    """

    needs_text: bool = True
    edit_window_s: int | None = None


@dataclass(slots=True)
class Channel:
    id: str
    name: str
    is_private: bool = False
    is_archived: bool = False
    is_member: bool = True


@dataclass(slots=True)
class Webhook:
    path: str
    channel: str
    is_active: bool = True


class BlocksError(Exception):
    """Blocks are not what the vendor takes; each message names what and where."""

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = messages


def fail(error: str, *messages: str, **more: Any) -> NoReturn:
    """Ends the call with the Web API's refusal, which is an HTTP 200."""
    body: Record = {"ok": False, "error": error, **more}
    if messages:
        body["response_metadata"] = {"messages": list(messages)}
    raise RefusalError(Answer(200, body))


class Slack(Vendor):
    """See the module's docstring; messages are Slack-shaped dicts by channel, in the order in which they were posted."""

    name: ClassVar[str] = "slack"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._routes = (
            Route("POST", "/api/chat.postMessage", "post_message", self._post_message),
            Route("POST", "/api/chat.update", "update_message", self._update_message),
            Route("POST", "/services/{team}/{bot}/{secret}", "webhook", self._webhook, is_open=True),
            *(
                Route(method, f"/api/{path}", operation, handle)
                for method in ("GET", "POST")
                for path, operation, handle in (
                    ("auth.test", "auth_test", self._auth_test),
                    ("chat.getPermalink", "get_permalink", self._permalink),
                    ("conversations.history", "history", self._history),
                    ("conversations.replies", "replies", self._replies),
                )
            ),
        )

    def routes(self) -> Sequence[Route]:
        return self._routes

    def clear(self) -> None:
        self.habits = Habits()
        self.scopes: frozenset[str] = frozenset(_SCOPES)
        self.channels = {CHANNEL: Channel(CHANNEL, "cancellations")}
        self.webhooks = {WEBHOOK_PATH: Webhook(WEBHOOK_PATH, CHANNEL)}
        self.people = {PERSON: "ada"}
        self.messages: dict[str, list[Record]] = {}
        self.clicks: dict[str, Event] = {}
        self._last_ts = Decimal(0)

    def seed(self, data: Record) -> Record:
        try:
            self.habits = replace(self.habits, **data.get("habits", {}))
            self.scopes = frozenset(data.get("scopes", self.scopes))
            channels = [Channel(**each) for each in data.get("channels", ())]
            webhooks = [Webhook(**each) for each in data.get("webhooks", ())]
            people = {each["id"]: each["username"] for each in data.get("people", ())}
        except (KeyError, TypeError) as wrong:
            raise ValueError(f"cannot seed slack: {wrong}") from wrong
        self.channels |= {each.id: each for each in channels}
        self.people |= people
        for each in webhooks:
            if each.channel not in self.channels:
                raise ValueError(f"cannot seed slack: no channel {each.channel}")
            self.webhooks[each.path] = each
        return {
            "channels": [each.id for each in channels],
            "webhooks": [each.path for each in webhooks],
            "people": list(people),
        }

    def settle(self, data: Record) -> Record:
        match data:
            case {"click": str(action), "ts": str(ts)}:
                event = self._click(action, ts, data.get("user", PERSON))
                self.emit(event)
                return {"event": event.id}
            case {"delete": str(ts)}:
                return self._delete(ts)
            case {"channel": str(key), **change} if key in self.channels and change:
                try:
                    self.channels[key] = replace(self.channels[key], **change)
                except TypeError as wrong:
                    raise ValueError(f"a channel has no such thing: {wrong}") from wrong
                return {"channel": key, **change}
            case {"webhook": str(path), "is_active": bool(is_active)} if path in self.webhooks:
                self.webhooks[path].is_active = is_active
                return {"webhook": path, "is_active": is_active}
            case _:
                raise NoSuchObjectError(
                    "slack settles a click, a message, a channel or a webhook that it has"
                )

    def _delete(self, ts: str) -> Record:
        for channel, messages in self.messages.items():
            kept = [each for each in messages if each["ts"] != ts]
            if len(kept) < len(messages):
                self.messages[channel] = kept
                return {"deleted": ts, "channel": channel}
        raise NoSuchObjectError(f"slack has no message {ts!r}")

    # ------------------------------------------------------------ at the door

    def authorise(self, call: Call) -> Answer | None:
        """The bot's token as a bearer; a token among the parameters is not looked at."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return _refusal("not_authed")
        return None if hmac.compare_digest(token.strip(), TOKEN) else _refusal("invalid_auth")

    def unauthorised(self, call: Call) -> Answer:
        return (
            Answer(403, "invalid_token", content_type="text/html")
            if _is_hook(call)
            else _refusal("token_revoked")
        )

    def refuse(self, call: Call) -> Answer:
        """The error that the fault's `code` names; a webhook says it as plain text with its own status."""
        code = call.fault.code if call.fault is not None else ""
        if _is_hook(call):
            return _hook_refusal(code or "no_service")
        return _refusal(code or "channel_not_found")

    def not_found(self, call: Call) -> Answer:
        if call.path.startswith("/api/"):
            return _refusal("unknown_method", req_method=call.path.removeprefix("/api/"))
        return Answer(404, "no_service", content_type="text/html")

    def failure(self, call: Call, status: int) -> Any:
        error = "ratelimited" if status == 429 else "internal_error" if status >= 500 else "fatal_error"
        if _is_hook(call):
            return "rate_limited" if status == 429 else "rollup_error"
        return {"ok": False, "error": error}

    def finish(self, call: Call, answer: Answer) -> Answer:  # noqa: ARG002 (the contract's signature)
        """A 429 always says how long to wait."""
        if answer.status == 429 and "retry-after" not in {name.lower() for name in answer.headers}:
            return replace(answer, headers={**answer.headers, "Retry-After": "30"})
        return answer

    # ------------------------------------------------------------ writing

    def _post_message(self, call: Call) -> Answer:
        asked, warnings = _arguments(call)
        self._need("chat:write")
        channel = self._channel(asked)
        if channel.is_archived:
            fail("is_archived")
        if not channel.is_member and (channel.is_private or "chat:write.public" not in self.scopes):
            fail("not_in_channel")
        text, blocks, metadata = self._content(asked)
        thread = asked.get("thread_ts")
        if thread is not None and self._find(channel.id, thread) is None:
            fail("thread_not_found")
        if len(text) > TEXT_MOST:
            warnings.append("message_truncated")
        message = self._post(channel.id, text, blocks or [], metadata, thread, via="api")
        if _is_true(asked.get("reply_broadcast")) and thread is not None:
            message["subtype"] = "thread_broadcast"
        return _ok(
            {"channel": channel.id, "ts": message["ts"], "message": _shown(message, has_metadata=True)},
            warnings,
        )

    def _update_message(self, call: Call) -> Answer:
        asked, warnings = _arguments(call)
        self._need("chat:write")
        channel = self._channel(asked)
        message = self._find(channel.id, asked.get("ts"))
        if message is None:
            fail("message_not_found")
        if message.get("user") != BOT_USER:
            fail("cant_update_message")
        if channel.is_archived:
            fail("is_archived")
        window = self.habits.edit_window_s
        if window is not None and self._now() - int(message["ts"].split(".")[0]) > window:
            fail("edit_window_closed")
        text, blocks, metadata = self._content(asked, is_update=True)
        message["text"] = text[:TEXT_MOST]
        # What is not sent stays; an empty list or object takes it away.
        for part, value in (("blocks", self._named(blocks)), ("metadata", metadata)):
            if value is not None:
                message[part] = value
        message["edited"] = {"user": BOT_USER, "ts": self._next_ts()}
        self.book.write(
            "update_message",
            id=message["ts"],
            target={"channel": channel.id, "ts": message["ts"]},
            reference=message.get("metadata", {}).get("event_payload"),
            text=message["text"],
            blocks=len(message.get("blocks", ())),
        )
        shown = _shown(message, has_metadata=True)
        return _ok(
            {"channel": channel.id, "ts": message["ts"], "text": message["text"], "message": shown}, warnings
        )

    def _webhook(self, call: Call) -> Answer:
        """An incoming webhook: plain words in answer, and no way to find the message again."""
        hook = self.webhooks.get(call.path)
        if hook is None:
            known = {path.rpartition("/")[0] for path in self.webhooks}
            return _hook_refusal("invalid_token" if call.path.rpartition("/")[0] in known else "no_service")
        if not hook.is_active:
            return _hook_refusal("no_active_hooks")
        if self.channels[hook.channel].is_archived:
            return _hook_refusal("channel_is_archived")
        asked = _hook_payload(call)
        if asked is None:
            return _hook_refusal("invalid_payload")
        try:
            text, blocks = _text(asked), _blocks(asked)
        except (BlocksError, ValueError):
            return _hook_refusal("invalid_payload")
        if not text.strip() and (self.habits.needs_text or not blocks):
            return _hook_refusal("no_text")
        self._post(hook.channel, text, blocks or [], None, None, via="webhook")
        return _OK

    def _content(
        self, asked: Record, *, is_update: bool = False
    ) -> tuple[str, list[Record] | None, Record | None]:
        """Text, blocks and metadata (None: not sent). Ends the call where one of them is not what the vendor takes."""
        try:
            text, blocks = _text(asked), _blocks(asked)
        except ValueError:
            fail("invalid_arguments", "[ERROR] text must be a string [json-pointer:/text]")
        except BlocksError as wrong:
            fail("invalid_blocks", *wrong.messages)
        if not text.strip() and (self.habits.needs_text or not blocks):
            fail("no_text")
        metadata = _structured(asked.get("metadata"))
        match metadata:
            case None:
                return text, blocks, None
            case {} if is_update and not metadata:
                return text, blocks, {}
            case {"event_type": str(kind), "event_payload": dict()} if kind:
                return text, blocks, metadata
            case _:
                fail("invalid_metadata_format")

    def _post(
        self,
        channel: str,
        text: str,
        blocks: list[Record],
        metadata: Record | None,
        thread: str | None,
        *,
        via: str,
    ) -> Record:
        message: Record = {
            "type": "message",
            "text": text[:TEXT_MOST],
            "ts": self._next_ts(),
            "bot_id": BOT,
            "app_id": APP,
        }
        # A webhook's message is not the bot user's, so the bot cannot edit it later.
        message |= {"user": BOT_USER, "team": TEAM} if via == "api" else {"subtype": "bot_message"}
        if blocks:
            message["blocks"] = self._named(blocks)
        if metadata is not None:
            message["metadata"] = metadata
        if thread is not None:
            parent = self._find(channel, thread)
            message["thread_ts"] = parent.get("thread_ts", thread) if parent is not None else thread
        self.messages.setdefault(channel, []).append(message)
        self.book.write(
            "post_message",
            id=message["ts"],
            target={"channel": channel, "thread_ts": message.get("thread_ts")},
            reference=metadata["event_payload"] if metadata is not None else None,
            text=message["text"],
            blocks=len(blocks),
            via=via,
        )
        return message

    def _named(self, blocks: list[Record] | None) -> list[Record] | None:
        """Every block has an id, the sender's or a fresh one."""
        if blocks is None:
            return None
        return [{"block_id": self.mint(length=5), **block} for block in blocks]

    # ------------------------------------------------------------ reading

    def _auth_test(self, call: Call) -> Answer:  # noqa: ARG002 (a handler's signature)
        return _ok(
            {
                "url": f"https://{DOMAIN}.slack.com/",
                "team": "Practice Shop",
                "user": "refundflow",
                "team_id": TEAM,
                "user_id": BOT_USER,
                "bot_id": BOT,
                "is_enterprise_install": False,
            }
        )

    def _permalink(self, call: Call) -> Answer:
        asked = _read_arguments(call)
        channel = self._channel(asked)
        ts = asked.get("message_ts")
        if self._find(channel.id, ts) is None:
            fail("message_not_found")
        link = f"https://{DOMAIN}.slack.com/archives/{channel.id}/p{str(ts).replace('.', '')}"
        return _ok({"channel": channel.id, "permalink": link})

    def _history(self, call: Call) -> Answer:
        """Newest first, without the replies inside threads."""
        asked = _read_arguments(call)
        channel = self._readable(asked)
        outside = [
            each
            for each in reversed(self.messages.get(channel.id, []))
            if each.get("thread_ts", each["ts"]) == each["ts"] or each.get("subtype") == "thread_broadcast"
        ]
        page = self._page(channel.id, outside, asked)
        return _ok({**page, "pin_count": 0, "channel_actions_ts": None, "channel_actions_count": 0})

    def _replies(self, call: Call) -> Answer:
        """The message that began the thread, then its replies, oldest first."""
        asked = _read_arguments(call)
        channel = self._readable(asked)
        found = self._find(channel.id, asked.get("ts"))
        if found is None:
            fail("thread_not_found")
        root = found.get("thread_ts", found["ts"])
        thread = [each for each in self.messages[channel.id] if root in (each["ts"], each.get("thread_ts"))]
        return _ok(self._page(channel.id, thread, asked))

    def _page(self, channel: str, found: list[Record], asked: Mapping[str, str]) -> Record:
        """One page of messages: `oldest` and `latest` are exclusive unless `inclusive`, the cursor names the next one."""
        oldest, latest = _bound(asked, "oldest"), _bound(asked, "latest")
        is_inclusive = _is_true(asked.get("inclusive"))
        inside = [
            each
            for each in found
            if _is_between(Decimal(each["ts"]), oldest, latest, is_inclusive=is_inclusive)
        ]
        limit = asked.get("limit") or str(PAGE_SIZE)
        if not limit.isdigit() or not 1 <= int(limit) <= PAGE_SIZE_MOST:
            fail("invalid_limit")
        start = 0
        if cursor := asked.get("cursor"):
            wanted = _read_cursor(cursor)
            start = next((i for i, each in enumerate(inside) if each["ts"] == wanted), -1)
            if start < 0:
                fail("invalid_cursor")
        end = start + int(limit)
        has_more = len(inside) > end
        has_metadata = _is_true(asked.get("include_all_metadata"))
        page: Record = {
            "messages": [
                {**_shown(each, has_metadata=has_metadata), **self._thread_of(channel, each)}
                for each in inside[start:end]
            ],
            "has_more": has_more,
        }
        if has_more:
            page["response_metadata"] = {"next_cursor": _cursor(inside[end]["ts"])}
        return page

    def _thread_of(self, channel: str, message: Record) -> Record:
        """What a thread's first message tells about its replies, and a reply about its parent."""
        if (root := message.get("thread_ts")) not in (None, message["ts"]):
            parent = self._find(channel, root)
            return {"parent_user_id": parent.get("user", BOT_USER) if parent is not None else BOT_USER}
        replies = [
            each
            for each in self.messages[channel]
            if each.get("thread_ts") == message["ts"] and each is not message
        ]
        if not replies:
            return {}
        return {
            "thread_ts": message["ts"],
            "reply_count": len(replies),
            "reply_users_count": len({each.get("user", BOT) for each in replies}),
            "latest_reply": replies[-1]["ts"],
            "subscribed": False,
        }

    # ------------------------------------------------------------ finding

    def _channel(self, asked: Mapping[str, Any]) -> Channel:
        """By id, or by name with or without `#`. A private channel without the bot in it does not exist for it."""
        key = asked.get("channel")
        for each in self.channels.values():
            if key in (each.id, each.name, f"#{each.name}") and (each.is_member or not each.is_private):
                return each
        fail("channel_not_found")

    def _readable(self, asked: Mapping[str, str]) -> Channel:
        channel = self.channels.get(asked.get("channel", ""))
        if channel is None or (channel.is_private and not channel.is_member):
            fail("channel_not_found")
        self._need("groups:history" if channel.is_private else "channels:history")
        if not channel.is_member:
            fail("not_in_channel")
        return channel

    def _need(self, scope: str) -> None:
        if scope not in self.scopes:
            fail("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))

    def _find(self, channel: str, ts: Any) -> Record | None:
        return next((each for each in self.messages.get(channel, ()) if each["ts"] == ts), None)

    def _now(self) -> int:
        return int(self.world.clock().timestamp())

    def _next_ts(self) -> str:
        """Seconds since 1970 and six places; later than every one before, also when the clock stands still."""
        self._last_ts = max(Decimal(self._now()), self._last_ts + Decimal("0.000001"))
        return f"{self._last_ts:.6f}"

    # ------------------------------------------------------------ interactions

    def event_for(self, topic: str, object_id: str) -> Event:
        """`block_actions`: a click. `object_id` is the id of one made by `settle`, or `<ts>/<action_id>[/<user>]`."""
        if topic == "block_actions":
            if object_id in self.clicks:
                return self.clicks[object_id]
            match object_id.split("/"):
                case [ts, action]:
                    return self._click(action, ts, PERSON)
                case [ts, action, user]:
                    return self._click(action, ts, user)
        raise NoSuchObjectError(f"slack sends no {topic!r} about {object_id!r}")

    def sign(self, event: Event, url: str, secret: str) -> Delivery:  # noqa: ARG002 (the contract's signature)
        """`X-Slack-Signature`: HMAC-SHA256 over version, time stamp and raw body; the body is a form with one field."""
        body = urlencode({"payload": event.payload.decode()}).encode()
        at = str(self._now())
        signature = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": _FORM,
            "X-Slack-Request-Timestamp": at,
            "X-Slack-Signature": f"v0={signature}",
            "User-Agent": "Slackbot 1.0 (practice)",
        }
        return Delivery(headers, body)

    def _click(self, action: str, ts: str, user: str) -> Event:
        if user not in self.people:
            raise NoSuchObjectError(f"slack has no person {user!r}")
        for channel, messages in self.messages.items():
            for message in messages:
                button = _button(message, action) if message["ts"] == ts else None
                if button is not None:
                    return self._clicked(channel, message, button, user)
        raise NoSuchObjectError(f"slack has no message {ts!r} with an action {action!r}")

    def _clicked(self, channel: str, message: Record, button: Record, user: str) -> Event:
        at = self._next_ts()
        team = {"id": TEAM, "domain": DOMAIN}
        body = {
            "type": "block_actions",
            "user": {"id": user, "username": self.people[user], "name": self.people[user], "team_id": TEAM},
            "api_app_id": APP,
            "token": self.mint(),
            "container": {
                "type": "message",
                "message_ts": message["ts"],
                "channel_id": channel,
                "is_ephemeral": False,
            },
            "trigger_id": f"{self._now()}.{self.mint(length=12)}",
            "team": team,
            "channel": {"id": channel, "name": self.channels[channel].name},
            "message": _shown(message, has_metadata=True),
            "response_url": f"https://hooks.slack.com/actions/{TEAM}/{self.mint(length=12)}",
            "actions": [{**button, "action_ts": at}],
        }
        event = Event(f"{message['ts']}-{button['action_id']}-{at}", "block_actions", body)
        self.clicks[event.id] = event
        return event


# ---------------------------------------------------------------- requests read


def _arguments(call: Call) -> tuple[Record, list[str]]:
    """The arguments of a method that writes, and warnings: JSON, or a form whose structured fields are JSON text."""
    match call.content_type:
        case "application/json":
            asked = call.json
            if asked is None:
                fail("invalid_json")
            if not isinstance(asked, dict):
                fail("json_not_object")
            has_charset = "charset" in call.headers.get("content-type", "").lower()
            return asked, [] if has_charset else ["missing_charset"]
        case "application/x-www-form-urlencoded":
            return dict(call.form_pairs), []
        case _:
            fail("invalid_post_type")


def _read_arguments(call: Call) -> dict[str, str]:
    """The arguments of a method that reads: query and form only, JSON bodies are not looked at."""
    form = call.form_pairs if call.content_type == _FORM else []
    return dict([*call.query_pairs, *form])


def _hook_payload(call: Call) -> Record | None:
    asked = call.json
    if call.content_type == _FORM:
        asked = _structured(dict(call.form_pairs).get("payload"))
    return asked if isinstance(asked, dict) else None


def _text(asked: Record) -> str:
    """Raises ValueError where the text is something else."""
    text = asked.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError("text is a string")
    return text or ""


def _structured(value: Any) -> Any:
    """A structured argument: as it came in JSON, read where a form carries it as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in ("true", "1"))


def _bound(asked: Mapping[str, str], name: str) -> Decimal | None:
    text = asked.get(name)
    if not text or text == "now":
        return None
    try:
        bound = Decimal(text)
    except InvalidOperation:
        fail(f"invalid_ts_{name}")
    return bound if bound.is_finite() else fail(f"invalid_ts_{name}")


def _is_between(ts: Decimal, oldest: Decimal | None, latest: Decimal | None, *, is_inclusive: bool) -> bool:
    if is_inclusive:
        return (oldest is None or ts >= oldest) and (latest is None or ts <= latest)
    # A bound of 0 is the beginning of time and leaves nothing out.
    return (not oldest or ts > oldest) and (latest is None or ts < latest)


def _cursor(ts: str) -> str:
    return base64.b64encode(f"next_ts:{ts}".encode()).decode()


def _read_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, validate=True).decode().removeprefix("next_ts:")
    except ValueError:
        return ""


# ---------------------------------------------------------------- blocks


def _blocks(asked: Record) -> list[Record] | None:
    """The blocks, checked; None where none were sent. Raises BlocksError naming everything that is wrong."""
    if "blocks" not in asked or asked["blocks"] is None:
        return None
    blocks = _structured(asked["blocks"])
    if not isinstance(blocks, list):
        raise BlocksError("[ERROR] must be an array [json-pointer:/blocks]")
    wrong = []
    if len(blocks) > BLOCKS_MOST:
        wrong.append(f"[ERROR] no more than {BLOCKS_MOST} items allowed [json-pointer:/blocks]")
    for index, block in enumerate(blocks):
        wrong += [
            f"[ERROR] {what} [json-pointer:/blocks/{index}{where}]" for what, where in _block_faults(block)
        ]
    names = [block.get("block_id") for block in blocks if isinstance(block, dict) and block.get("block_id")]
    if len(set(names)) < len(names):
        wrong.append("[ERROR] block_id must be unique [json-pointer:/blocks]")
    if wrong:
        raise BlocksError(*wrong)
    return blocks


def _block_faults(block: Any) -> Iterable[tuple[str, str]]:
    """What is wrong with one block, and where inside it."""
    if not isinstance(block, dict):
        yield "must be an object", ""
        return
    if block.get("type") not in _BLOCK_TYPES:
        yield f"unsupported type: {block.get('type')}", "/type"
        return
    block_id = block.get("block_id", "")
    if not isinstance(block_id, str) or len(block_id) > 255:
        yield "must be a string of at most 255 characters", "/block_id"
    match block:
        case {"type": "section", "text": text}:
            yield from _text_faults(text, "/text", SECTION_MOST)
        case {"type": "section", "fields": [*texts]} if 1 <= len(texts) <= 10:
            for index, text in enumerate(texts):
                yield from _text_faults(text, f"/fields/{index}", 2_000)
        case {"type": "section"}:
            yield "must have text or 1 to 10 fields", ""
        case {"type": "header"}:
            yield from _text_faults(block.get("text"), "/text", 150, kinds=("plain_text",))
        case {"type": "context", "elements": [*texts]} if 1 <= len(texts) <= 10:
            for index, text in enumerate(texts):
                if not (isinstance(text, dict) and text.get("type") == "image"):
                    yield from _text_faults(text, f"/elements/{index}", SECTION_MOST)
        case {"type": "actions", "elements": [*elements]} if 1 <= len(elements) <= 25:
            yield from _element_faults(elements)
        case {"type": "context" | "actions"}:
            yield "must have elements within their limit", "/elements"


def _text_faults(
    text: Any, where: str, most: int, kinds: Sequence[str] = ("plain_text", "mrkdwn")
) -> Iterable[tuple[str, str]]:
    match text:
        case {"type": str(kind), "text": str(words)} if kind in kinds:
            if not words:
                yield "must be more than 0 characters", f"{where}/text"
            elif len(words) > most:
                yield f"must be less than {most + 1} characters", f"{where}/text"
        case _:
            yield f"must be a text object of type {' or '.join(kinds)}", where


def _element_faults(elements: list[Any]) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for index, element in enumerate(elements):
        where = f"/elements/{index}"
        if not isinstance(element, dict) or not isinstance(element.get("type"), str):
            yield "must be an element with a type", where
            continue
        action = element.get("action_id", "")
        if not isinstance(action, str) or len(action) > 255:
            yield "must be a string of at most 255 characters", f"{where}/action_id"
        elif action and action in seen:
            yield "action_id must be unique", f"{where}/action_id"
        seen.add(str(action))
        if element["type"] == "button":
            yield from _text_faults(element.get("text"), f"{where}/text", 75, kinds=("plain_text",))
            value = element.get("value", "")
            if not isinstance(value, str) or len(value) > 2_000:
                yield "must be less than 2001 characters", f"{where}/value"
            if element.get("style", "primary") not in ("primary", "danger"):
                yield "must be primary or danger", f"{where}/style"
            if "confirm" in element:
                yield from _confirm_faults(element["confirm"], f"{where}/confirm")


def _confirm_faults(confirm: Any, where: str) -> Iterable[tuple[str, str]]:
    if not isinstance(confirm, dict):
        yield "must be an object", where
        return
    for name, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        kinds = ("plain_text", "mrkdwn") if name == "text" else ("plain_text",)
        yield from _text_faults(confirm.get(name), f"{where}/{name}", most, kinds)
    if confirm.get("style", "primary") not in ("primary", "danger"):
        yield "must be primary or danger", f"{where}/style"


def _button(message: Record, action: str) -> Record | None:
    for block in message.get("blocks", ()):
        for element in block.get("elements", ()) if block["type"] == "actions" else ():
            if element.get("action_id") == action:
                return {"block_id": block["block_id"], **element}
    return None


# ---------------------------------------------------------------- answers written


def _ok(body: Record, warnings: Sequence[str] = ()) -> Answer:
    told: Record = {"ok": True, **body}
    if warnings:
        told |= {"warning": ",".join(warnings), "response_metadata": {"warnings": list(warnings)}}
    return Answer(200, told)


def _refusal(error: str, **more: Any) -> Answer:
    return Answer(200, {"ok": False, "error": error, **more})


def _is_hook(call: Call) -> bool:
    return call.path.startswith("/services/")


def _hook_refusal(error: str) -> Answer:
    match error:
        case "action_prohibited" | "invalid_token" | "posting_to_general_channel_denied":
            status = 403
        case "no_service" | "no_active_hooks" | "no_team" | "channel_not_found":
            status = 404
        case "channel_is_archived":
            status = 410
        case _:
            status = 400
    return Answer(status, error, content_type="text/html")


def _shown(message: Record, *, has_metadata: bool) -> Record:
    return {name: value for name, value in message.items() if has_metadata or name != "metadata"}
