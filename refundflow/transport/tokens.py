"""Tokens: fetched when needed, kept until shortly before they expire, fetched by one worker for all where they are shared.

`Tokens` keeps one in memory and asks its `Keeper` for the next one. A keeper fetches (`Fetching`: client credentials, a
log-in), or looks into the shop's vault first (`Shared`), where the tokens of all workers lie encrypted and a lock sees to it
that one of them refreshes and the others take what it got. Refresh tokens that rotate make that a must: the loser of two
refreshes at once would lose the connection to the vendor until a person connects anew.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from refundflow.transport.base import Http, MaybeSentError, NotSentError, Request, Response, Token

#: How long a vendor that refused our credentials is left alone: every worker asking again at once locks accounts.
REFUSED_PAUSE_S: Final = 15.0
#: The life of a token whose answer does not say it. Short on purpose: a fetch too many costs nothing.
_UNTOLD_LIFE_S: Final = 300.0

Read = Callable[[Response], Token | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """What the vault holds for one platform. `good_until`: epoch seconds; `refresh_token`: the one to use next; `grant`: a
    digest of the refresh token from the settings that it all began with, so that a new one there starts anew.
    """

    value: str
    good_until: float
    refresh_token: str = ""
    grant: str = ""


class Cell(Protocol):
    """One platform's place in the vault, held by us alone."""

    def read(self) -> Kept | None: ...

    def write(self, kept: Kept) -> None:
        """Kept for good when this returns."""


class Vault(Protocol):
    """Where shared tokens lie. Raises NotSentError where it cannot be reached: without a token nothing is sent."""

    def peek(self, name: str) -> Kept | None: ...

    def hold(self, name: str) -> AbstractContextManager[Cell]:
        """The platform's cell; nobody else holds it meanwhile, in any process."""


class Keeper(Protocol):
    """Where the next token comes from. `spent`: the one that is no good any more ("" where there was none)."""

    def next(self, spent: str) -> tuple[str, float]:
        """The token, and how many seconds it is good. Raises NotSentError."""


class Tokens:
    """A `TokenSource`. One fetch at a time: threads that need a token while it is fetched wait for that one.

    `margin_s`: fetched anew so long before it expires (half the life of a token that lives shorter than twice the margin);
    `is_renewed_by_use`: its life begins anew with every use; `clock`: monotonic seconds.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        margin_s: float = 60.0,
        is_renewed_by_use: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keeper = keeper
        self._margin_s = margin_s
        self._is_renewed_by_use = is_renewed_by_use
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._spent = ""
        self._life_s = 0.0
        self._good_until = 0.0
        self._refused_until = 0.0
        self._refusal = ""

    def token(self) -> str:
        """A token that is still good. Raises NotSentError where none could be had: whatever needed it was not sent,
        and fetching a token has no effect that could be doubled, so a lost answer is no more than that either.
        """
        with self._lock:
            now = self._clock()
            if self._token and now < self._good_until:
                if self._is_renewed_by_use:
                    self._good_until = now + self._life_s
                return self._token
            if now < self._refused_until:
                raise NotSentError(self._refusal, after_s=round(self._refused_until - now, 3))
            try:
                token, life_s = self._keeper.next(self._token or self._spent)
            except RefusedFetchError as refused:
                self._refusal = refused.reason
                self._refused_until = self._clock() + REFUSED_PAUSE_S
                raise
            self._token = token
            self._life_s = max(life_s - self._margin_s, life_s / 2)
            self._good_until = self._clock() + self._life_s
            return token

    def forget(self, token: str) -> None:
        """Drops this token, unless another thread has fetched a newer one meanwhile."""
        with self._lock:
            if token == self._token:
                self._spent, self._token = token, ""


class RefusedFetchError(NotSentError):
    """The vendor said no to our credentials; asking again at once would not help."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """Fetches each token by one request, the same every time."""

    http: Http
    request: Request
    read: Read

    def next(self, spent: str) -> tuple[str, float]:  # noqa: ARG002 (the contract's)
        token = fetch(self.http, self.request, self.read)
        return token.value, token.life_s


class Homeless:
    """A refresh token that rotates, and nowhere to keep its successor: nothing is fetched, so nothing is lost."""

    def next(self, spent: str) -> tuple[str, float]:  # noqa: ARG002 (the contract's)
        raise NotSentError("no token: there is no vault to keep it in")


@dataclass(frozen=True, slots=True)
class Shared:
    """Takes the workers' common token out of the vault, or fetches it there under its lock.

    `request`: given the refresh token ("" where the vendor has none), says what to send; `granted`: the refresh token from
    the settings; `clock`: epoch seconds, for lives that several machines count.
    """

    http: Http
    request: Callable[[str], Request]
    read: Read
    vault: Vault
    name: str
    granted: str = ""
    clock: Callable[[], float] = time.time

    def next(self, spent: str) -> tuple[str, float]:
        kept = self._usable(self.vault.peek(self.name), spent)
        if kept is not None:
            return kept
        with self.vault.hold(self.name) as cell:
            held = cell.read()
            kept = self._usable(held, spent)
            if kept is not None:
                return kept  # another worker was faster
            grant = hashlib.sha256(self.granted.encode()).hexdigest() if self.granted else ""
            follows = held is not None and held.grant == grant
            refresh_token = (held.refresh_token if held is not None and follows else "") or self.granted
            token = fetch(self.http, self.request(refresh_token), self.read)
            cell.write(
                Kept(
                    token.value,
                    self.clock() + token.life_s,
                    (token.refresh_token or refresh_token) if self.granted else "",
                    grant,
                )
            )
            return token.value, token.life_s

    def _usable(self, kept: Kept | None, spent: str) -> tuple[str, float] | None:
        if kept is None or kept.value == spent:
            return None
        life_s = kept.good_until - self.clock()
        return (kept.value, life_s) if life_s > 1.0 else None


def fetch(http: Http, request: Request, read: Read) -> Token:
    """One token from the vendor. Raises NotSentError where none came, RefusedFetchError where it said no."""
    try:
        response = http.send(request)
    except MaybeSentError as error:
        raise NotSentError(f"no token: {error.reason}") from error
    token = read(response)
    if token is None or not token.value:
        raise RefusedFetchError(
            f"no token: the vendor answered {response.status} to our credentials",
            after_s=response.retry_after_s or REFUSED_PAUSE_S,
        )
    return token


def read_oauth(response: Response) -> Token | None:
    """An OAuth 2 token answer (RFC 6749, section 5.1)."""
    match response.status, response.json:
        case 200 | 201, {"access_token": str(token), **rest} if token:
            refresh = rest.get("refresh_token")
            return Token(token, _seconds(rest.get("expires_in")), refresh if isinstance(refresh, str) else "")
        case _:
            return None


def _seconds(expires_in: Any) -> float:
    """`expires_in` as seconds; some vendors write the number as a text."""
    match expires_in:
        case bool():
            return _UNTOLD_LIFE_S
        case int() if expires_in > 0:
            return float(expires_in)
        case str() if expires_in.isdecimal() and int(expires_in) > 0:
            return float(expires_in)
        case _:
            return _UNTOLD_LIFE_S
