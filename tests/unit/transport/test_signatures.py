from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from refundflow.transport.signatures import (
    is_any,
    is_fresh,
    is_same,
    sign_base64,
    sign_hex,
    split_secrets,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

# The second test case of RFC 4231 (HMAC-SHA-2) and of RFC 2202 (HMAC-SHA-1), read 2026-11-23.
_KEY, _MESSAGE = "Jefe", b"what do ya want for nothing?"


def test_digests_are_those_of_the_published_vectors() -> None:
    assert sign_hex(_KEY, _MESSAGE) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign_hex(_KEY, _MESSAGE, "sha1") == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    assert sign_base64(_KEY, _MESSAGE) == "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="


def test_an_empty_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        sign_hex("", b"body")


def test_comparing_takes_any_text_as_it_came() -> None:
    assert is_same("abc", "abc")
    assert not is_same("abc", "abd")
    assert not is_same("abc", "äöü")
    assert not is_same("abc", "\udcff")


def test_one_match_of_any_secret_is_enough_and_nothing_matches_nothing() -> None:
    assert is_any(["old", "new"], ["x", "new"])
    assert not is_any(["old", "new"], ["x"])
    assert not is_any([], ["x"])
    assert not is_any(["old"], [])


def test_secrets_under_rotation_are_told_apart_by_commas() -> None:
    assert split_secrets(" whsec_new , whsec_old ,") == ("whsec_new", "whsec_old")
    assert split_secrets("") == ()


@pytest.mark.parametrize(
    ("_case", "age_s", "is_good"),
    [
        ("just made", 0, True),
        ("at the edge", 300, True),
        ("too old", 301, False),
        ("a clock ahead of ours", -300, True),
        ("from the future", -301, False),
    ],
)
def test_freshness_is_bounded_on_both_sides(_case: str, age_s: int, is_good: bool) -> None:
    made = NOW - timedelta(seconds=age_s)
    assert is_fresh(int(made.timestamp()), NOW, 300) is is_good
