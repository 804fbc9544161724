from __future__ import annotations

import threading
from typing import Any

import pytest

from refundflow.transport.base import MaybeSentError, NotSentError, Request
from refundflow.transport.tokens import REFUSED_PAUSE_S, Fetching, Tokens, read_oauth
from tests.support.fake_http import FakeHttp, answer

FETCH = Request(
    "POST", "https://login.example/token", "example.token", form=[("grant_type", "client_credentials")]
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def granted(token: str, **more: Any) -> Any:
    return answer(200, {"access_token": token, **more})


@pytest.mark.parametrize(
    ("_case", "expires_in", "margin_s", "good_for_s"),
    [
        ("a usual life", 1800, 60.0, 1740),
        ("a life written as a text", "1800", 60.0, 1740),
        ("a life shorter than the margin", 40, 60.0, 20),
        ("a life that is not told", None, 60.0, 240),
        ("a life that makes no sense", -5, 60.0, 240),
        ("a truth instead of a number", True, 60.0, 240),
    ],
)
def test_a_token_is_kept_until_shortly_before_it_expires(
    _case: str, expires_in: Any, margin_s: float, good_for_s: float
) -> None:
    clock = Clock()
    http = FakeHttp(granted("one", expires_in=expires_in), granted("two", expires_in=1800))
    tokens = Tokens(Fetching(http, FETCH, read_oauth), margin_s=margin_s, clock=clock)
    assert tokens.token() == "one"
    clock.now += good_for_s - 0.5
    assert tokens.token() == "one"
    clock.now += 0.5
    assert tokens.token() == "two"
    assert http.requests == [FETCH, FETCH]


def test_a_forgotten_token_is_fetched_anew_and_a_newer_one_is_not_forgotten() -> None:
    http = FakeHttp(granted("one", expires_in=60), granted("two", expires_in=60))
    tokens = Tokens(Fetching(http, FETCH, read_oauth), clock=Clock())
    assert tokens.token() == "one"
    tokens.forget("one")
    assert tokens.token() == "two"
    tokens.forget("one")
    assert tokens.token() == "two"
    assert len(http.requests) == 2


@pytest.mark.parametrize(
    ("_case", "response"),
    [
        ("refused", answer(401, {"error": "invalid_client"})),
        ("no token in it", answer(200, {"expires_in": 60})),
        ("an empty token", answer(200, {"access_token": ""})),
        ("no text for a token", answer(200, {"access_token": 7})),
        ("an error page", answer(200, "<html>")),
        ("a list", answer(200, [])),
        ("the vendor is down", answer(503, "")),
    ],
)
def test_a_refused_fetch_was_not_sent_and_is_left_alone_for_a_while(_case: str, response: Any) -> None:
    clock = Clock()
    http = FakeHttp(response, granted("one", expires_in=60))
    tokens = Tokens(Fetching(http, FETCH, read_oauth), clock=clock)
    with pytest.raises(NotSentError, match=f"answered {response.status} to our credentials") as refused:
        tokens.token()
    assert refused.value.after_s == REFUSED_PAUSE_S
    clock.now += REFUSED_PAUSE_S - 1
    with pytest.raises(NotSentError) as paused:
        tokens.token()
    assert paused.value.after_s == 1.0
    assert len(http.requests) == 1
    clock.now += 1
    assert tokens.token() == "one"


def test_the_vendors_own_hint_is_passed_on() -> None:
    tokens = Tokens(
        Fetching(FakeHttp(answer(429, "", {"Retry-After": "7"})), FETCH, read_oauth), clock=Clock()
    )
    with pytest.raises(NotSentError) as refused:
        tokens.token()
    assert refused.value.after_s == 7.0


def test_a_lost_answer_to_a_fetch_means_that_nothing_was_sent() -> None:
    http = FakeHttp(MaybeSentError("reset"), granted("one", expires_in=60))
    tokens = Tokens(Fetching(http, FETCH, read_oauth), clock=Clock())
    with pytest.raises(NotSentError, match="no token: reset"):
        tokens.token()
    assert tokens.token() == "one"


def test_threads_that_need_a_token_share_one_fetch() -> None:
    arrived = threading.Barrier(9)
    http = FakeHttp(granted("one", expires_in=60))
    tokens = Tokens(Fetching(http, FETCH, read_oauth))
    seen: list[str] = []

    def work() -> None:
        arrived.wait(5)
        seen.append(tokens.token())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    arrived.wait(5)
    for thread in threads:
        thread.join(5)
    assert seen == ["one"] * 8
    assert len(http.requests) == 1
