"""OAuth 2 client credentials: a bearer token fetched when needed and kept in memory until shortly before it expires."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from refundflow.transport.base import Http, MaybeSentError, NotSentError, Request

#: How long a vendor that refused our credentials is left alone: every worker asking again at once locks accounts.
REFUSED_PAUSE_S: Final = 15.0
#: The life of a token whose answer does not say it. Short on purpose: a fetch too many costs nothing.
_UNTOLD_LIFE_S: Final = 300.0


class ClientCredentials:
    """A `TokenSource`. One fetch at a time: threads that need a token while it is fetched wait for that one.

    `request`: fetches the token through `http`; `margin_s`: fetched anew so long before it expires (half the life of a
    token that lives shorter than twice the margin); `clock`: monotonic seconds.
    """

    def __init__(
        self,
        http: Http,
        request: Request,
        *,
        margin_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._request = request
        self._margin_s = margin_s
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
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
                return self._token
            if now < self._refused_until:
                raise NotSentError(self._refusal, after_s=round(self._refused_until - now, 3))
            try:
                response = self._http.send(self._request)
            except MaybeSentError as error:
                raise NotSentError(f"no token: {error.reason}") from error
            match response.status, response.json:
                case 200 | 201, {"access_token": str(token), **rest} if token:
                    life_s = _seconds(rest.get("expires_in"))
                    self._token = token
                    self._good_until = self._clock() + max(life_s - self._margin_s, life_s / 2)
                    return token
                case status, _:
                    self._refusal = f"no token: the vendor answered {status} to our credentials"
                    self._refused_until = self._clock() + REFUSED_PAUSE_S
                    raise NotSentError(self._refusal, after_s=response.retry_after_s or REFUSED_PAUSE_S)

    def forget(self, token: str) -> None:
        """Drops this token, unless another thread has fetched a newer one meanwhile."""
        with self._lock:
            if token == self._token:
                self._token = ""


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
