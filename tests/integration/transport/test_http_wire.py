"""The wire against a real server on 127.0.0.1 that misbehaves on purpose: what was sent, what was not, and in what time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from refundflow.transport.base import (
    Http,
    MaybeSentError,
    NotSentError,
    OAuth1Keys,
    PacedError,
    Request,
)
from refundflow.transport.http import MAX_BODY_BYTES, RequestsHttp, RequestsWire, record_exchanges
from refundflow.transport.pacing import LocalPacer
from tests.support.fake_http import FixedTokens

pytestmark = pytest.mark.integration

Handler = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
BODY = b'{"id": "r1"}'
POST = Request("POST", "/v1/refunds", "acme.refund", form=[("amount", "4250")])


class Server:
    """Accepts connections and does with each request what the next handler says. `book`: the requests that came whole."""

    def __init__(self, *handlers: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.book: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        self._handlers = list(handlers)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while not self.over.is_set():
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._tls is None:
                self._answer(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secure:
                self._answer(secure)

    def _answer(self, connection: socket.socket) -> None:
        while request := read_request(connection):
            self.book.append(request)
            self._handlers.pop(0)(connection)
            if not self._handlers:
                return

    def drip(self, connection: socket.socket, data: bytes) -> None:
        """One byte every 50 ms, until the other side or the test has had enough."""
        for byte in data:
            connection.sendall(bytes([byte]))
            if self.over.wait(0.05):
                return

    def close(self) -> None:
        self.over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """One whole request, head and body; empty where the other side has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def say(data: bytes) -> Handler:
    return lambda connection: connection.sendall(data)


def reply(status: str, body: bytes = b"{}", *headers: str) -> Handler:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return say("\r\n".join(lines).encode() + body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*handlers: Handler, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(*handlers, tls=tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def connect(url: str, *, verify: str | bool = True, **more: Any) -> Http:
    limits: dict[str, Any] = {"rate_per_s": 1000, "burst": 1000, "connect_s": 1.0, "read_s": 0.5, **more}
    return RequestsWire(LocalPacer(), verify=verify).http(platform="acme", base_url=url, **limits)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_whole_answer_comes_back_as_it_was_said(serve: Callable[..., Server]) -> None:
    server = serve(reply("201 Created", b'{"total": 1.10}', "X-Request-Id: q1"))
    response = connect(server.url + "/api/").send(POST)
    assert (response.status, response.headers["x-request-id"], response.text) == (
        201,
        "q1",
        '{"total": 1.10}',
    )
    assert str(response.json["total"]) == "1.10"
    assert server.book[0].startswith(b"POST /api/v1/refunds HTTP/1.1\r\n")
    assert server.book[0].endswith(b"\r\n\r\namount=4250")


def test_a_refused_port_was_not_sent() -> None:
    with pytest.raises(NotSentError, match="ConnectionRefusedError"):
        connect(f"http://127.0.0.1:{free_port()}").send(POST)


def test_an_unknown_host_was_not_sent() -> None:
    with pytest.raises(NotSentError, match="gaierror"):
        connect("http://no-such-host.invalid").send(POST)


def test_a_host_that_does_not_take_connections_in_time_was_not_sent() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        socket.socket() as one,
        socket.socket() as two,
    ):
        # A queue that is full: the kernel answers nobody further.
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        with pytest.raises(NotSentError):
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_s=0.3).send(POST)


def accept_once(listener: socket.socket, handle: Handler) -> threading.Thread:
    def work() -> None:
        connection, _ = listener.accept()
        with connection:
            handle(connection)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_handshake_that_fails_was_not_sent() -> None:
    def speak_plainly(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = accept_once(listener, speak_plainly)
        with pytest.raises(NotSentError, match="SSLError"):
            connect(f"https://127.0.0.1:{listener.getsockname()[1]}").send(POST)
        thread.join(5)


def test_a_handshake_that_is_never_answered_was_not_sent(serve: Callable[..., Server]) -> None:
    server = serve(reply("200 OK"))
    with pytest.raises(NotSentError, match="TimeoutError"):
        connect(server.url.replace("http", "https"), connect_s=0.3).send(POST)


@pytest.mark.parametrize(
    ("_case", "said"),
    [
        ("nothing at all", b""),
        ("half a status line", b"HTTP/1.1 20"),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("less than announced", OK + b'{"id":'),
        ("a chunk cut short", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{\"id"),
        ("no last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n" + BODY + b"\r\n"),
        ("a body that is not what its encoding says", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + BODY),
    ],
)  # fmt: skip
def test_an_answer_that_ends_early_may_have_been_sent(
    _case: str, said: bytes, serve: Callable[..., Server]
) -> None:
    server = serve(say(said))
    with pytest.raises(MaybeSentError):
        connect(server.url).send(POST)
    assert len(server.book) == 1


def test_a_connection_closed_without_reading_may_have_been_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = accept_once(listener, lambda _: None)
        with pytest.raises(MaybeSentError):
            connect(f"http://127.0.0.1:{listener.getsockname()[1]}").send(POST)
        thread.join(5)


def test_an_answer_cut_off_in_its_headers_is_one_that_says_nothing(serve: Callable[..., Server]) -> None:
    """Python's parser takes what came for all there is; without a body there is no yes to read in it."""
    server = serve(say(b"HTTP/1.1 200 OK\r\nContent-Le"))
    response = connect(server.url).send(POST)
    assert (response.status, response.body, response.json) == (200, b"", None)


@pytest.mark.parametrize(
    ("_case", "said"),
    [("before the answer", b""), ("after the headers", OK), ("in the body", OK + b'{"id"')],
)
def test_a_stall_ends_at_the_read_limit(_case: str, said: bytes, serve: Callable[..., Server]) -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(said)
        server.over.wait(20)

    server = serve(stall)
    started = time.monotonic()
    with pytest.raises(MaybeSentError, match="TimeoutError"):
        connect(server.url, read_s=0.3).send(POST)
    assert time.monotonic() - started < 1.2
    assert len(server.book) == 1


@pytest.mark.parametrize(
    ("_case", "head", "dripped"),
    [
        ("in the headers", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x" * 200),
        ("in a body with a length", b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", b"x" * 200),
        ("in a body that ends with the connection", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 200),
    ],
)
def test_a_vendor_that_drips_is_cut_off_when_the_whole_time_is_up(
    _case: str, head: bytes, dripped: bytes, serve: Callable[..., Server]
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        server.drip(connection, dripped)

    server = serve(drip)
    started = time.monotonic()
    with pytest.raises(MaybeSentError, match=r"given up after 0\.6 s"):
        connect(server.url, connect_s=0.2, read_s=0.4).send(POST)
    assert 0.5 < time.monotonic() - started < 1.5


def test_a_request_may_have_its_own_time(serve: Callable[..., Server]) -> None:
    def stall(connection: socket.socket) -> None:
        server.over.wait(20)

    server = serve(stall)
    started = time.monotonic()
    with pytest.raises(MaybeSentError):
        connect(server.url, read_s=10).send(Request("GET", "/x", "acme.x", total_s=0.3))
    assert time.monotonic() - started < 1.2


def test_the_watch_of_one_call_does_not_reach_into_the_next_on_its_connection(
    serve: Callable[..., Server],
) -> None:
    def late(connection: socket.socket) -> None:
        server.over.wait(0.6)
        connection.sendall(OK + BODY)

    server = serve(say(OK + BODY), late)
    http = connect(server.url, read_s=3)
    http.send(Request("GET", "/1", "acme.x", total_s=0.3))
    assert http.send(Request("GET", "/2", "acme.x")).json == {"id": "r1"}
    assert (server.connections, len(server.book)) == (1, 2)


def test_an_answer_beyond_all_measure_is_not_taken_in(serve: Callable[..., Server]) -> None:
    server = serve(reply("200 OK", b"x" * (MAX_BODY_BYTES + 1)))
    with pytest.raises(MaybeSentError, match="longer than 10000000 bytes"):
        connect(server.url, read_s=10).send(POST)


def test_a_body_nested_too_deeply_to_parse_is_an_answer_without_json(serve: Callable[..., Server]) -> None:
    server = serve(reply("200 OK", b"[" * 200_000))
    answer = connect(server.url, read_s=10).send(POST)
    assert (answer.status, answer.json) == (200, None), "unreadable, like any page that is not JSON"


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_a_redirect_is_an_answer_and_not_followed(status: str, serve: Callable[..., Server]) -> None:
    server = serve(reply(status, b"", "Location: /elsewhere"), reply("200 OK"))
    assert connect(server.url).send(POST).status == int(status[:3])
    assert len(server.book) == 1


@pytest.mark.parametrize("status", ["429 Too Many", "500 Oops", "503 Busy"])
def test_nothing_is_sent_again_by_itself(status: str, serve: Callable[..., Server]) -> None:
    server = serve(reply(status, b"", "Retry-After: 0"), reply("200 OK"))
    assert connect(server.url).send(POST).status == int(status[:3])
    assert len(server.book) == 1


def test_cookies_are_not_kept(serve: Callable[..., Server]) -> None:
    server = serve(reply("200 OK", b"{}", "Set-Cookie: session=abc; Path=/"), reply("200 OK"))
    http = connect(server.url)
    http.send(POST)
    http.send(POST)
    assert b"cookie" not in server.book[1].lower()


def test_a_proxy_in_the_environment_is_not_asked(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(reply("200 OK"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    assert connect(server.url).send(POST).status == 200


def test_a_refused_token_is_exchanged_once_and_the_same_request_sent_again(
    serve: Callable[..., Server],
) -> None:
    class Tokens(FixedTokens):
        def token(self) -> str:
            return f"token-{len(self.forgotten) + 1}"

    server = serve(reply("401 No"), reply("200 OK"), reply("401 No"), reply("401 No"))
    tokens = Tokens()
    http = connect(server.url, tokens=tokens, token_header="X-Acme-Token", token_format="{}")
    with record_exchanges() as exchanges:
        assert http.send(POST).status == 200
    assert [e.status for e in exchanges] == [401, 200]
    assert http.send(POST).status == 401
    assert tokens.forgotten == ["token-1", "token-2"]
    sent = [line for book in server.book for line in book.split(b"\r\n") if line.startswith(b"X-Acme-Token")]
    assert sent == [f"X-Acme-Token: token-{n}".encode() for n in (1, 2, 2, 3)]
    assert all(book.endswith(b"amount=4250") for book in server.book)


def test_our_credentials_go_to_no_other_origin(serve: Callable[..., Server]) -> None:
    home, other = serve(reply("200 OK")), serve(reply("200 OK"), reply("200 OK"))
    for options in ({"auth": ("user", "secret-word")}, {"tokens": FixedTokens("secret-word")}):
        http = connect(home.url, headers={"X-Api-Key": "secret-word"}, **options)
        assert http.send(Request("GET", other.url + "/file", "acme.file")).status == 200
    assert len(other.book) == 2
    assert not any(
        word in book.lower() for book in other.book for word in (b"secret", b"authorization", b"x-api-key")
    )


def test_an_exchange_is_kept_masked(serve: Callable[..., Server]) -> None:
    body = json.dumps({"id": "r1", "email": "ada@shop.example", "note": "key sk_live_123456"}).encode()
    server = serve(reply("402 No", body, "Request-Id: req_7", "Set-Cookie: a=b"))
    http = connect(server.url, headers={"Authorization": "Bearer sk_live_123456"}, redact=frozenset({"plan"}))
    request = Request(
        "POST",
        "/v1/x",
        "acme.x",
        params=[("token", "t0ps3cret")],
        form=[("amount", "1"), ("metadata[plan]", "gold")],
    )
    with record_exchanges() as exchanges:
        http.send(request)
    (kept,) = exchanges
    assert (kept.operation, kept.method, kept.status, kept.request_id) == ("acme.x", "POST", 402, "req_7")
    assert kept.url == f"{server.url}/v1/x?token=***"
    assert kept.request_headers == {"Authorization": "***"}
    assert kept.request_body == [["amount", "1"], ["metadata[plan]", "***"]]
    assert kept.response_body == {"id": "r1", "email": "***", "note": "key ***"}
    assert kept.response_headers["set-cookie"] == "***"
    assert kept.error == ""
    assert 0 <= kept.elapsed_ms < 5000


def test_an_exchange_without_an_answer_is_kept_with_its_reason() -> None:
    with record_exchanges() as exchanges, pytest.raises(NotSentError):
        connect(f"http://127.0.0.1:{free_port()}").send(POST)
    (kept,) = exchanges
    assert (kept.status, kept.error, kept.response_body) == (
        0,
        "ConnectionRefusedError: Connection refused",
        None,
    )


def test_long_bodies_and_error_pages_are_kept_in_part(serve: Callable[..., Server]) -> None:
    server = serve(
        reply("502 Bad", b"<html>" + b"y" * 50_000), reply("200 OK", json.dumps(["z" * 50_000]).encode())
    )
    http = connect(server.url)
    with record_exchanges() as exchanges:
        http.send(POST)
        http.send(POST)
    assert [len(e.response_body) for e in exchanges] == [400, 16_001]


def test_pacing_holds_a_call_back_before_anything_is_sent(serve: Callable[..., Server]) -> None:
    server = serve(reply("200 OK"))
    http = connect(server.url, rate_per_s=0.01, burst=1)
    assert http.send(POST).status == 200
    with pytest.raises(PacedError):
        http.send(POST)
    assert len(server.book) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=practice -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
    )
    return folder


class TestTLS:
    @pytest.fixture
    def tls(self, certificate: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        return context

    def test_a_certificate_that_nobody_vouches_for_was_not_sent(
        self, serve: Callable[..., Server], tls: ssl.SSLContext
    ) -> None:
        server = serve(reply("200 OK"), tls=tls)
        with pytest.raises(NotSentError, match="SSLCertVerificationError"):
            connect(server.url).send(POST)
        assert server.book == []

    def test_a_trusted_one_is_answered(
        self, serve: Callable[..., Server], tls: ssl.SSLContext, certificate: Path
    ) -> None:
        server = serve(reply("200 OK", BODY), tls=tls)
        assert connect(server.url, verify=str(certificate / "cert.pem")).send(POST).json == {"id": "r1"}

    def test_a_tls_error_after_the_request_may_have_been_sent(
        self, serve: Callable[..., Server], tls: ssl.SSLContext, certificate: Path
    ) -> None:
        """The same SSL error as in a failed handshake, and the opposite truth."""

        def break_off(connection: socket.socket) -> None:
            # Past the TLS layer: bytes that are no record, then the end.
            socket.socket.send(connection, b"\x17\x03\x03\x00\x05junk!")

        server = serve(break_off, tls=tls)
        with pytest.raises(MaybeSentError, match="SSL"):
            connect(server.url, verify=str(certificate / "cert.pem")).send(POST)
        assert len(server.book) == 1

    def test_a_drip_inside_tls_is_cut_off_too(
        self, serve: Callable[..., Server], tls: ssl.SSLContext, certificate: Path
    ) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n")
            server.drip(connection, b"x" * 200)

        server = serve(drip, tls=tls)
        started = time.monotonic()
        http = connect(server.url, verify=str(certificate / "cert.pem"), connect_s=0.3, read_s=0.5)
        with pytest.raises(MaybeSentError, match=r"given up after 0\.8 s"):
            http.send(POST)
        assert time.monotonic() - started < 2


# ---------------------------------------------------------------- signed calls


def test_each_call_is_signed_anew_over_method_address_and_query(serve: Callable[..., Server]) -> None:
    server = serve(reply("200 OK"), reply("200 OK"))
    keys = OAuth1Keys("consumer", "consumer-secret-1", "token", "token-secret-1")
    http = connect(server.url, oauth1=keys)
    search = Request("GET", "/V1/orders", "acme.orders", params=[("searchCriteria[x]", "a b")])
    with record_exchanges() as exchanges:
        http.send(search)
        http.send(search)
    nonces = []
    for request in server.book:
        head = request.decode()
        (line,) = [x for x in head.split("\r\n") if x.lower().startswith("authorization:")]
        given = dict(re.findall(r'(\w+)="([^"]*)"', line))
        assert given["oauth_signature_method"] == "HMAC-SHA256"
        signed = {n: unquote(v) for n, v in given.items() if n not in ("realm", "oauth_signature")}
        pairs = sorted(
            (quote(n, ""), quote(v, "")) for n, v in [*signed.items(), ("searchCriteria[x]", "a b")]
        )
        base = "&".join(
            quote(part, "")
            for part in ("GET", f"{server.url}/V1/orders", "&".join(f"{n}={v}" for n, v in pairs))
        )
        digest = hmac.new(b"consumer-secret-1&token-secret-1", base.encode(), hashlib.sha256).digest()
        assert unquote(given["oauth_signature"]) == base64.b64encode(digest).decode()
        nonces.append(given["oauth_nonce"])
    assert len(set(nonces)) == 2
    kept = json.dumps([asdict(x) for x in exchanges])
    assert "consumer-secret-1" not in kept
    assert "token-secret-1" not in kept


def test_a_link_that_leads_elsewhere_is_not_signed(serve: Callable[..., Server]) -> None:
    elsewhere = serve(reply("200 OK"))
    http = connect(
        "http://127.0.0.1:1", oauth1=OAuth1Keys("consumer", "secret-of-consumer", "token", "secret")
    )
    http.send(Request("GET", f"{elsewhere.url}/x", "acme.link"))
    assert b"authorization" not in elsewhere.book[0].lower()


def test_a_vendor_inside_the_house_is_checked_against_its_own_certificates(tmp_path: Path) -> None:
    http = RequestsWire(LocalPacer()).http(
        platform="acme",
        base_url="https://127.0.0.1:1",
        rate_per_s=10,
        burst=10,
        connect_s=1.0,
        read_s=1.0,
        ca_file=str(tmp_path / "own.pem"),
    )
    assert isinstance(http, RequestsHttp)
    assert http.verify == str(tmp_path / "own.pem")
