"""What connectors see of the wire: a request, a response, and two kinds of trouble.

TransportError
├── NotSentError      nothing reached the vendor: it certainly did not act
│   └── PacedError    our own rate limit held the call back
└── MaybeSentError    no usable answer came back: the vendor may have acted
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

Form = Sequence[tuple[str, str]]


class TransportError(Exception):
    """The wire failed. Turned into an outcome in one place, `flow/act.py`."""


class NotSentError(TransportError):
    """Nothing was sent: refused connection, unknown host, no connection in time."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason, after_s)
        self.reason = reason
        self.after_s = after_s


class PacedError(NotSentError):
    """Our own pacing for this platform has no room now. `after_s`: when it will."""


class MaybeSentError(TransportError):
    """Sent, or perhaps sent, and no whole answer: reset, read timeout, body cut short."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `path`: joined to the connector's base URL, or an absolute URL. At most one of `json`, `form` and `body`.

    `body`: bytes that go out exactly as they are (a signed document that must not be written anew); its Content-Type is
    among the request's headers.
    `operation`: our name of it for logs, metrics and the audit ("stripe.refund"). `auth`: a user and password for
    HTTP Basic. `total_s`: the longest a whole call may take; None: the connector's own limit.
    """

    method: str
    path: str
    operation: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Form = ()
    form: Form | None = None
    json: Any = None
    auth: tuple[str, str] | None = None
    total_s: float | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer. `headers`: lower-case names. `json`: the parsed body, None where it is not JSON (numbers with
    a point come as Decimal, never as float).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def retry_after_s(self) -> float | None:
        """The `Retry-After` header in seconds, where the vendor sent a sensible one."""
        raw = self.headers.get("retry-after", "")
        try:
            seconds = float(raw)
        except ValueError:
            return None
        return seconds if 0 <= seconds < 86_400 else None


def parse_json(body: bytes) -> Any:
    """The body as JSON with Decimals, or None where it is not JSON."""
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError, RecursionError):
        return None


class Http(Protocol):
    """Sends one request, once. Raises NotSentError or MaybeSentError; every answer, of any status, is returned."""

    def send(self, request: Request) -> Response: ...


class TokenSource(Protocol):
    """Gives a bearer token, fetched when needed and kept until shortly before it expires."""

    def token(self) -> str: ...

    def forget(self, token: str) -> None:
        """The vendor refused this token: fetch another one next time."""


@dataclass(frozen=True, slots=True)
class OAuth1Keys:
    """The four parts of an OAuth 1.0a integration; every request is signed with them (HMAC-SHA256, RFC 5849)."""

    client_key: str
    client_secret: str = field(repr=False)
    token: str = ""
    token_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its vendor gave it. `life_s`: how long it is good; `refresh_token`: the one to use next time, where the
    vendor replaces it with every refresh (empty: the old one stays).
    """

    value: str = field(repr=False)
    life_s: float
    refresh_token: str = field(default="", repr=False)


class Wire(Protocol):
    """Makes the `Http` and the token source of a platform; `wiring.py` hands it to each connector's `build`."""

    def http(
        self,
        *,
        platform: str,
        base_url: str,
        rate_per_s: float,
        burst: int,
        connect_s: float,
        read_s: float,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        tokens: TokenSource | None = None,
        token_header: str = "Authorization",
        token_format: str = "Bearer {}",
        oauth1: OAuth1Keys | None = None,
        ca_file: str = "",
        redact: frozenset[str] = frozenset(),
    ) -> Http:
        """`tokens`: a token is put into `token_header` of every call; on a 401 it is forgotten and the call is sent
        once more with a fresh one (a 401 proves that the vendor did not act). `oauth1`: each call is signed with these;
        `ca_file`: the certificates that the vendor's own is checked against, where it is not signed by a public authority.
        """

    def client_credentials(
        self, http: Http, request: Request, *, margin_s: float = 60.0, shared_as: str = ""
    ) -> TokenSource:
        """An OAuth 2 client-credentials token: `request` is sent to fetch it; the answer has `access_token` and
        `expires_in` (seconds). One fetch at a time. Kept in memory, and with `shared_as` (the platform's slug) encrypted in
        the database too, so that all workers share one. A refused fetch raises NotSentError.
        """

    def refreshed_tokens(
        self,
        http: Http,
        request: Callable[[str], Request],
        *,
        shared_as: str,
        refresh_token: str,
        margin_s: float = 60.0,
    ) -> TokenSource:
        """An OAuth 2 token that is refreshed: `request` is given the refresh token and says what to send; the answer is as
        above, with the `refresh_token` to use next where the vendor rotates it. `refresh_token`: the one that a person put
        into the settings; used first, and again when the settings change. Tokens are kept encrypted in the database, and
        refreshed once, under a lock, however many workers want one. A refused refresh raises NotSentError.
        """

    def session_tokens(
        self,
        http: Http,
        request: Request,
        read: Callable[[Response], Token | None],
        *,
        margin_s: float = 60.0,
    ) -> TokenSource:
        """A log-in whose answer has a form of its own: `read` makes a token of it, or None where it is a refusal. Kept in
        memory, one per process; its life begins anew with every use.
        """
