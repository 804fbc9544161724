"""The wire without a network: records what would be sent, answers from a queue. No behaviour of its own."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from refundflow.transport.base import (
    Http,
    Request,
    Response,
    Token,
    TokenSource,
    TransportError,
    parse_json,
)
from refundflow.transport.http import write_json

Answer = Response | TransportError
Answers = Answer | Callable[[Request], Answer]


def answer(status: int, json_or_text: Any = "", headers: Mapping[str, str] | None = None) -> Response:
    """A whole answer, parsed as the real wire parses it. A text (or bytes) is the body itself, else it is JSON."""
    match json_or_text:
        case bytes():
            body = json_or_text
        case str():
            body = json_or_text.encode()
        case _:
            body = json_module.dumps(json_or_text, default=_plain).encode()
    named = {name.lower(): value for name, value in (headers or {}).items()}
    return Response(status=status, headers=named, body=body, json=parse_json(body))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"not JSON: {value!r}")


class FakeHttp:
    """An `Http` that plays queued answers in order; a TransportError in the queue is raised.

    `always`: what to answer once the queue is empty (an answer, an error, or a function of the request). Without it a
    call too many fails the test.
    """

    def __init__(self, *answers: Answer, always: Answers | None = None) -> None:
        self.requests: list[Request] = []
        self._queue: list[Answer] = list(answers)
        self._always = always

    def queue(self, *answers: Answer) -> None:
        self._queue.extend(answers)

    @property
    def is_drained(self) -> bool:
        """Whether every queued answer was asked for."""
        return not self._queue

    @property
    def sent(self) -> Request:
        """The only request that was sent."""
        assert len(self.requests) == 1, [f"{r.method} {r.path}" for r in self.requests]
        return self.requests[0]

    @property
    def calls(self) -> list[str]:
        """Method and path of each request, in order."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def send(self, request: Request) -> Response:
        assert request.form is None or request.json is None, "a request has one body"
        write_json(request.json)  # raises where the real wire could not say it
        self.requests.append(request)
        match self._queue.pop(0) if self._queue else self._always:
            case Response() as response:
                return response
            case TransportError() as error:
                raise error
            case None:
                raise AssertionError(f"one call too many: {request.method} {request.path}")
            case play:
                played = play(request)
                if isinstance(played, TransportError):
                    raise played
                return played


@dataclass
class FixedTokens:
    """A TokenSource that always gives the same token and remembers which ones were refused."""

    value: str = "practice-token"
    forgotten: list[str] = field(default_factory=list)

    def token(self) -> str:
        return self.value

    def forget(self, token: str) -> None:
        self.forgotten.append(token)


class FakeWire:
    """A `Wire` that hands out one FakeHttp and remembers with what it was asked for.

    `made`: the arguments of each `http(...)`; `token_requests`: the requests that would fetch a token.
    """

    def __init__(self, http: FakeHttp | None = None) -> None:
        self.fake = http or FakeHttp()
        self.made: list[dict[str, Any]] = []
        self.token_requests: list[Request] = []

    def http(self, **arguments: Any) -> Http:
        self.made.append(arguments)
        return self.fake

    def client_credentials(
        self, http: Http, request: Request, *, margin_s: float = 60.0, shared_as: str = ""
    ) -> TokenSource:
        self.token_requests.append(request)
        return FixedTokens()

    def refreshed_tokens(
        self,
        http: Http,
        request: Callable[[str], Request],
        *,
        shared_as: str,
        refresh_token: str,
        margin_s: float = 60.0,
    ) -> TokenSource:
        self.token_requests.append(request(refresh_token))
        return FixedTokens()

    def session_tokens(
        self,
        http: Http,
        request: Request,
        read: Callable[[Response], Token | None],
        *,
        margin_s: float = 60.0,
    ) -> TokenSource:
        self.token_requests.append(request)
        return FixedTokens()
