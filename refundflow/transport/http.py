"""HTTP with limits: one call, sent once, that ends in time with an answer or with the truth about whether it was sent.

`requests` raises the same class for a refused and for a reset connection, and its TLS errors come from the handshake or from
the middle of an answer. So what decides between NotSentError and MaybeSentError is watched where it happens: whether any
byte of the request was handed to a connected socket (for `https`, one whose handshake had ended). A call that fails before
that did nothing, whatever the error is called; a call that fails after it may have acted.

Nothing is retried here (but for a refused token, see `RequestsHttp`) and no redirect is followed: a vendor's write must not
be repeated, or sent elsewhere, by a library.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from http.cookiejar import DefaultCookiePolicy
from socket import SHUT_RDWR, socket
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests
from oauthlib.oauth1 import SIGNATURE_HMAC_SHA256
from requests.adapters import HTTPAdapter
from requests_oauthlib import OAuth1
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from refundflow.transport.base import (
    Http,
    MaybeSentError,
    NotSentError,
    OAuth1Keys,
    Request,
    Response,
    Token,
    TokenSource,
    TransportError,
    parse_json,
)
from refundflow.transport.pacing import Pacer
from refundflow.transport.redact import MASK, Redaction
from refundflow.transport.tokens import Fetching, Homeless, Shared, Tokens, Vault, read_oauth

MAX_BODY_BYTES: Final = 10_000_000
#: What the audit keeps of one body, in characters: the whole of an order, not the whole of a price list.
KEPT_CHARS: Final = 16_000
_KEPT_HTML_CHARS: Final = 400
_CHUNK_BYTES: Final = 65_536

#: How vendors' names for "the id of this request, for our support" end.
_REQUEST_ID_ENDINGS: Final = (
    "request-id",
    "requestid",
    "request-uuid",
    "req-id",
    "debug-id",
    "correlation-id",
    "trace-id",
    "tid",
)
#: RecursionError: a body nested so deeply that it cannot be parsed is no usable answer either.
_WIRE_ERRORS: Final = (
    requests.RequestException,
    HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call as the audit keeps it, masked. Plain values only.

    `status`: 0 where no whole answer came, then `error` says why; `elapsed_ms`: from the first to the last byte, waits
    for our own pacing not counted; `request_id`: the vendor's id of the call, for its support.
    """

    operation: str
    method: str
    url: str
    request_headers: dict[str, str]
    request_body: Any
    status: int
    response_headers: dict[str, str]
    response_body: Any
    elapsed_ms: int
    request_id: str = ""
    error: str = ""


_exchanges: ContextVar[list[Exchange] | None] = ContextVar("refundflow_exchanges", default=None)


@contextmanager
def record_exchanges() -> Iterator[list[Exchange]]:
    """Collects the exchanges made inside the block, on this thread, as they happen; an error keeps what was before it."""
    collected: list[Exchange] = []
    token = _exchanges.set(collected)
    try:
        yield collected
    finally:
        _exchanges.reset(token)


class _Call:
    """Watches one call: whether anything went out, and that it ends in time.

    Read timeouts begin anew with every byte, so a vendor that drips could hold a worker for hours. When the time is up the
    socket is shut down under the reader, which ends the call wherever it is: in headers, body or TLS.
    """

    def __init__(self, total_s: float) -> None:
        self.is_sent = False
        self.is_expired = False
        self._socket: socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(total_s, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Call:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None  # it may go back to the pool: a late timer must not touch it

    def goes_out(self, connected: socket) -> None:
        """The request is about to be written. Raises TimeoutError, before the first byte, when the time is up already."""
        with self._lock:
            if self.is_expired:
                raise TimeoutError("no time left before sending")
            self._socket = connected
            self.is_sent = True

    def _expire(self) -> None:
        with self._lock:
            self.is_expired = True
            if self._socket is not None:
                try:
                    # The plain socket's shutdown: the one of an SSLSocket takes the TLS state from under the reader.
                    socket.shutdown(self._socket, SHUT_RDWR)
                except OSError:
                    return  # closed by the other side in the same moment


_call: ContextVar[_Call | None] = ContextVar("refundflow_call", default=None)


def _note_sending(connection: http.client.HTTPConnection) -> None:
    if connection.sock is None:
        connection.connect()
    call = _call.get()
    if call is not None and isinstance(connection.sock, socket):
        call.goes_out(connection.sock)


class _WatchedConnection(HTTPConnection):
    def send(self, data: Any) -> None:
        _note_sending(self)
        super().send(data)


class _WatchedSecureConnection(HTTPSConnection):
    def send(self, data: Any) -> None:
        _note_sending(self)
        super().send(data)


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _WatchedSecureConnection


class _Adapter(HTTPAdapter):
    """No retries of its own, and connections that say when a request goes out."""

    def __init__(self) -> None:
        super().__init__(max_retries=0, pool_connections=32, pool_maxsize=2)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedPool, "https": _WatchedSecurePool}


class _Sessions(threading.local):
    """One session per thread, and a fresh one after a fork: two processes must not write into one connection."""

    def __init__(self) -> None:
        self._process = 0
        self._session: requests.Session | None = None

    def session(self) -> requests.Session:
        if self._session is None or self._process != os.getpid():
            self._session = _open_session()
            self._process = os.getpid()
        return self._session


def _open_session() -> requests.Session:
    session = requests.Session()
    # A proxy variable, a .netrc or a CA bundle that happens to lie in a worker's environment must not decide through
    # whose hands calls about money go, or which credentials they carry.
    session.trust_env = False
    session.headers.clear()
    # A cookie would make one call depend on another; a connector that needs one sends it itself.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class RequestsWire:
    """The `Wire` over requests. Making it, and whatever it makes, connects to nothing.

    `verify`: a CA bundle for vendors inside the house, or True for the public ones; it cannot be switched off. `vault`:
    where the workers' common tokens lie; without one each process has its own.
    """

    def __init__(self, pacer: Pacer, *, verify: str | bool = True, vault: Vault | None = None) -> None:
        if verify is False:
            raise ValueError("calls about money are not made over unverified TLS")
        self._pacer = pacer
        self._verify = verify
        self._vault = vault
        self._sessions = _Sessions()
        # Its debug lines and its warnings hold whole URLs, and some vendors want their key in the query.
        logging.getLogger("urllib3").setLevel(logging.ERROR)

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
        token_header: str = "Authorization",  # noqa: S107 - the name of a header
        token_format: str = "Bearer {}",  # noqa: S107 - a format, without the token
        oauth1: OAuth1Keys | None = None,
        ca_file: str = "",
        redact: frozenset[str] = frozenset(),
    ) -> Http:
        own = dict(headers or {})
        if auth is not None:
            own["Authorization"] = _basic(auth)
        return RequestsHttp(
            platform=platform,
            base_url=base_url.rstrip("/"),
            rate_per_s=rate_per_s,
            burst=burst,
            connect_s=connect_s,
            read_s=read_s,
            headers=MappingProxyType(own),
            tokens=tokens,
            token_header=token_header,
            token_format=token_format,
            redaction=_know_credentials(Redaction(redact), own, auth, oauth1),
            pacer=self._pacer,
            verify=ca_file or self._verify,
            sessions=self._sessions,
            oauth1=oauth1,
        )

    def client_credentials(
        self, http: Http, request: Request, *, margin_s: float = 60.0, shared_as: str = ""
    ) -> TokenSource:
        if not shared_as or self._vault is None:
            return Tokens(Fetching(http, request, read_oauth), margin_s=margin_s)
        return Tokens(Shared(http, lambda _: request, read_oauth, self._vault, shared_as), margin_s=margin_s)

    def refreshed_tokens(
        self,
        http: Http,
        request: Callable[[str], Request],
        *,
        shared_as: str,
        refresh_token: str,
        margin_s: float = 60.0,
    ) -> TokenSource:
        if self._vault is None:
            return Tokens(Homeless())
        shared = Shared(http, request, read_oauth, self._vault, shared_as, refresh_token)
        return Tokens(shared, margin_s=margin_s)

    def session_tokens(
        self,
        http: Http,
        request: Request,
        read: Callable[[Response], Token | None],
        *,
        margin_s: float = 60.0,
    ) -> TokenSource:
        return Tokens(Fetching(http, request, read), margin_s=margin_s, is_renewed_by_use=True)


@dataclass(frozen=True, slots=True, repr=False)
class RequestsHttp:
    """The `Http` of one platform; made by `RequestsWire.http`, where its fields are explained.

    A whole call takes at most `connect_s + read_s` (or the request's `total_s`); only the look-up of the host's name is
    bounded by the system's resolver instead. With `tokens`, a 401 is answered once by a fresh token and the same request
    again. Own headers, login and tokens go to the origin of `base_url` only: an absolute URL elsewhere (a link that a
    vendor gave us) never carries our credentials.
    """

    platform: str
    base_url: str
    rate_per_s: float
    burst: int
    connect_s: float
    read_s: float
    headers: Mapping[str, str]
    tokens: TokenSource | None
    token_header: str
    token_format: str
    redaction: Redaction
    pacer: Pacer
    verify: str | bool
    sessions: _Sessions = field(compare=False)
    oauth1: OAuth1Keys | None = None

    def send(self, request: Request) -> Response:
        url = _join(self.base_url, request.path)
        is_home = _origin(url) == _origin(self.base_url)
        if self.tokens is None or not is_home:
            return self._send_once(request, url, self.headers if is_home else {}, self.redaction)
        token = self.tokens.token()
        response = self._send_with(token, request, url)
        if response.status != 401:
            return response
        self.tokens.forget(token)
        return self._send_with(self.tokens.token(), request, url)

    def _send_with(self, token: str, request: Request, url: str) -> Response:
        headers = {**self.headers, self.token_header: self.token_format.format(token)}
        return self._send_once(request, url, headers, self.redaction.knowing((token,)))

    def _send_once(
        self, request: Request, url: str, headers: Mapping[str, str], redaction: Redaction
    ) -> Response:
        self.pacer.acquire(self.platform, self.rate_per_s, self.burst)
        started = time.monotonic()
        try:
            prepared = _prepare(request, url, headers)
            if self.oauth1 is not None and _origin(url) == _origin(self.base_url):
                _sign(prepared, self.oauth1)
            response = self._exchange(prepared, request.total_s or self.connect_s + self.read_s)
        except TransportError as error:
            _record(request, url, headers, redaction, None, started, str(error.args[0]))
            raise
        _record(request, url, headers, redaction, response, started, "")
        return response

    def _exchange(self, prepared: requests.PreparedRequest, total_s: float) -> Response:
        with _Call(total_s) as call:
            watching = _call.set(call)
            try:
                return _read(
                    self.sessions.session().send(
                        prepared,
                        stream=True,
                        allow_redirects=False,
                        verify=self.verify,
                        timeout=(min(self.connect_s, total_s), min(self.read_s, total_s)),
                    ),
                    call,
                )
            except _WIRE_ERRORS as error:
                reason = f"given up after {total_s:g} s" if call.is_expired else _cause(error)
                raise (MaybeSentError(reason) if call.is_sent else NotSentError(reason)) from error
            finally:
                _call.reset(watching)


def _read(answer: requests.Response, call: _Call) -> Response:
    """Reads the whole body. Raises MaybeSentError for one that is too long, TimeoutError for one that came too late."""
    with answer:
        body = bytearray()
        for chunk in answer.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise MaybeSentError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
        if call.is_expired:
            # Where no length was announced, a shut down socket looks like the end of the body.
            raise TimeoutError("the body came too late")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        whole = bytes(body)
        return Response(status=answer.status_code, headers=headers, body=whole, json=parse_json(whole))


def _prepare(request: Request, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    """The request as bytes, the same for equal requests: vendors compare a repeated body with the first one.

    Raises NotSentError for a URL or header that cannot be sent, ValueError for a request with two bodies.
    """
    if sum(one is not None for one in (request.form, request.json, request.body)) > 1:
        raise ValueError("a request has one body: form, json or bytes")
    own = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", "User-Agent": "refundflow"}
    body = request.body
    if request.form is not None:
        own["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(list(request.form)).encode()
    elif request.json is not None:
        own["Content-Type"] = "application/json"
        body = write_json(request.json).encode()
    given = [own, headers, request.headers]
    if request.auth is not None:
        given.append({"Authorization": _basic(request.auth)})
    merged: dict[str, tuple[str, str]] = {}
    for layer in given:
        merged |= {name.lower(): (name, value) for name, value in layer.items()}
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare(
            method=request.method,
            url=url,
            params=urlencode(list(request.params)),
            headers=dict(merged.values()),
            data=body,
        )
    except (requests.RequestException, ValueError) as error:
        raise NotSentError(f"cannot be sent: {type(error).__name__}") from error
    return prepared


def _sign(prepared: requests.PreparedRequest, keys: OAuth1Keys) -> None:
    """Adds the OAuth 1.0a header: a nonce and a time of its own for every call, the query signed, a JSON body not."""
    OAuth1(
        keys.client_key,
        client_secret=keys.client_secret,
        resource_owner_key=keys.token,
        resource_owner_secret=keys.token_secret,
        signature_method=SIGNATURE_HMAC_SHA256,
    )(prepared)


def write_json(value: Any) -> str:
    """JSON text with Decimals as the numbers they are (`42.50` stays `42.50`), which Python's own writer cannot do."""
    match value:
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case Mapping():
            inner = (f"{json.dumps(str(n), ensure_ascii=False)}: {write_json(v)}" for n, v in value.items())
            return "{" + ", ".join(inner) + "}"
        case list() | tuple():
            return "[" + ", ".join(write_json(v) for v in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _join(base_url: str, path: str) -> str:
    if "://" in path.split("?", 1)[0]:
        return path
    return f"{base_url}/{path.lstrip('/')}" if path else base_url


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, (parts.hostname or "").lower(), port


def _basic(auth: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(auth).encode()).decode()


def _know_credentials(
    redaction: Redaction,
    headers: Mapping[str, str],
    auth: tuple[str, str] | None,
    oauth1: OAuth1Keys | None = None,
) -> Redaction:
    """Strikes out the values of our own secret headers and the login wherever they turn up."""
    secret = [value for name, value in headers.items() if redaction.hides(name)]
    words = [word for value in secret for word in (value, value.rpartition(" ")[2], value.rpartition(":")[2])]
    keys = (oauth1.client_secret, oauth1.token, oauth1.token_secret) if oauth1 else ()
    return redaction.knowing([*words, *(auth[1:] if auth else ()), *filter(None, keys)])


def _cause(error: BaseException) -> str:
    """What went wrong at the bottom, without the URL that the upper layers put into their messages."""
    bottom = error
    while (below := bottom.__cause__ or bottom.__context__) is not None:
        bottom = below
    told = bottom.strerror if isinstance(bottom, OSError) and bottom.strerror else ""
    return f"{type(bottom).__name__}: {told}" if told else type(bottom).__name__


def _record(
    request: Request,
    url: str,
    headers: Mapping[str, str],
    redaction: Redaction,
    response: Response | None,
    started: float,
    error: str,
) -> None:
    collected = _exchanges.get()
    if collected is None:
        return
    if request.auth is not None:
        redaction = redaction.knowing(request.auth[1:])
    if request.form is not None:
        # A refresh token travels in the form, and a refusal may quote it under a name of its own.
        redaction = redaction.knowing([value for name, value in request.form if redaction.hides(name)])
    query = urlencode(list(request.params))
    sent = {**headers, **request.headers, **({"Authorization": MASK} if request.auth else {})}
    received = response.headers if response is not None else {}
    collected.append(
        Exchange(
            operation=request.operation,
            method=request.method,
            url=redaction.url(f"{url}{'&' if '?' in url else '?'}{query}" if query else url),
            request_headers=redaction.headers(sent),
            request_body=_keep(_masked_request(redaction, request)),
            status=response.status if response is not None else 0,
            response_headers=redaction.headers(received),
            response_body=_keep(_masked_body(redaction, response)) if response is not None else None,
            elapsed_ms=round((time.monotonic() - started) * 1000),
            request_id=next((v for n, v in received.items() if n.endswith(_REQUEST_ID_ENDINGS)), ""),
            error=redaction.text(error),
        )
    )


def _masked_request(redaction: Redaction, request: Request) -> Any:
    if request.form is not None:
        return redaction.fields(request.form)
    if request.body is None:
        return redaction.json(request.json)
    document = parse_json(request.body)
    if document is not None:
        return redaction.json(document)
    return redaction.text(request.body[: _KEPT_HTML_CHARS * 2].decode("utf-8", "replace"))[:_KEPT_HTML_CHARS]


def _masked_body(redaction: Redaction, response: Response) -> Any:
    if response.json is not None:
        return redaction.json(response.json)
    # Names cannot be told from other words in a text: only the beginning is kept, enough to know an error page.
    return redaction.text(response.text[: _KEPT_HTML_CHARS * 2])[:_KEPT_HTML_CHARS]


def _keep(masked: Any) -> Any:
    """The masked body, or its beginning as text where it is long."""
    text = json.dumps(masked, ensure_ascii=False)
    return masked if len(text) <= KEPT_CHARS else text[:KEPT_CHARS] + "…"
