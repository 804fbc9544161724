"""A wire into the practice vendors of this process: the bytes are the real ones, the network is left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from refundflow.sandbox.base import Answer, Call, World
from refundflow.transport.base import (
    Http,
    MaybeSentError,
    OAuth1Keys,
    Request,
    Response,
    Token,
    TokenSource,
    parse_json,
)
from refundflow.transport.http import _basic, _join, _prepare, _sign
from refundflow.transport.tokens import Fetching, Kept, Shared, Tokens, read_oauth

#: `{VENDORS}/<slug>` is the base address of a practice vendor, as it is in a rehearsal.
VENDORS: Final = "http://vendors.example"


@dataclass
class WorldHttp:
    """An `Http` whose calls go to `World.receive`; the vendor is the first segment of the address's path. A cut connection
    is a MaybeSentError; a refused token is fetched anew once.
    """

    world: World
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tokens: TokenSource | None = None
    token_header: str = "Authorization"
    token_format: str = "Bearer {}"
    oauth1: OAuth1Keys | None = None

    def send(self, request: Request) -> Response:
        if self.tokens is None:
            return self._send(request, self.headers)
        for is_last in (False, True):
            token = self.tokens.token()
            response = self._send(
                request, {**self.headers, self.token_header: self.token_format.format(token)}
            )
            if response.status != 401 or is_last:
                break
            self.tokens.forget(token)
        return response

    def _send(self, request: Request, headers: Mapping[str, str]) -> Response:
        prepared = _prepare(request, _join(self.base_url, request.path), headers)
        if self.oauth1 is not None:
            _sign(prepared, self.oauth1)
        url = urlsplit(str(prepared.url))
        vendor, _, path = url.path.lstrip("/").partition("/")
        sent = {
            (n.decode() if isinstance(n, bytes) else n).lower(): v.decode() if isinstance(v, bytes) else v
            for n, v in prepared.headers.items()
        }
        body = prepared.body or b""
        call = Call(
            str(prepared.method),
            f"/{path}",
            url.query,
            sent,
            body if isinstance(body, bytes) else body.encode(),
        )
        match self.world.receive(vendor, call):
            case Answer() as answer:
                named = {"content-type": answer.content_type}
                for name, value in answer.headers.items():
                    # Two headers of one name (cookies) arrive as one, as the real wire gives them.
                    before = named.get(name.lower(), "") if name.lower() != "content-type" else ""
                    named[name.lower()] = f"{before}, {value}" if before else value
                return Response(answer.status, named, answer.payload, parse_json(answer.payload))
            case cut:
                raise MaybeSentError(f"the connection was cut ({cut.how})")


class MemoryVault:
    """A `Vault` and its cells, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self._name = ""

    def peek(self, name: str) -> Kept | None:
        return self.kept.get(name)

    @contextmanager
    def hold(self, name: str) -> Iterator[MemoryVault]:
        self._name = name
        yield self

    def read(self) -> Kept | None:
        return self.kept.get(self._name)

    def write(self, kept: Kept) -> None:
        self.kept[self._name] = kept


class WorldWire:
    """A `Wire` whose connections all lead into one world: `build(credentials, WorldWire(world))`."""

    def __init__(self, world: World, vault: MemoryVault | None = None) -> None:
        self.world = world
        self.vault = vault or MemoryVault()

    def http(
        self,
        *,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        tokens: TokenSource | None = None,
        token_header: str = "Authorization",
        token_format: str = "Bearer {}",
        oauth1: OAuth1Keys | None = None,
        **_limits: Any,
    ) -> Http:
        own = {**(headers or {}), **({"Authorization": _basic(auth)} if auth else {})}
        return WorldHttp(self.world, base_url.rstrip("/"), own, tokens, token_header, token_format, oauth1)

    def client_credentials(
        self, http: Http, request: Request, *, margin_s: float = 60.0, shared_as: str = ""
    ) -> TokenSource:
        return Tokens(Fetching(http, request, read_oauth), margin_s=margin_s)

    def refreshed_tokens(
        self,
        http: Http,
        request: Callable[[str], Request],
        *,
        shared_as: str,
        refresh_token: str,
        margin_s: float = 60.0,
    ) -> TokenSource:
        # The world's clock counts a token's life, so that tests can let one grow old.
        def clock() -> float:
            return self.world.clock().timestamp()

        shared = Shared(http, request, read_oauth, self.vault, shared_as, refresh_token, clock)
        return Tokens(shared, margin_s=margin_s, clock=clock)

    def session_tokens(
        self,
        http: Http,
        request: Request,
        read: Callable[[Response], Token | None],
        *,
        margin_s: float = 60.0,
    ) -> TokenSource:
        return Tokens(
            Fetching(http, request, read), margin_s=margin_s, is_renewed_by_use=True, clock=time.monotonic
        )
