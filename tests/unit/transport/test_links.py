"""Links to a customer's page: made in one line, and good for one order until one moment."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest

from refundflow.transport.links import BadLink, Link, make_link, read_link

KEY = b"practice-portal-key"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
UNTIL = int(NOW.timestamp()) + 3600


def query_of(link: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(link).query))


def test_a_link_is_read_as_it_was_made() -> None:
    link = make_link("https://shop.example/", KEY, "shopify", "#1001", UNTIL)
    assert link.startswith("https://shop.example/portal?platform=shopify&order=%231001&expires=")
    assert read_link(KEY, query_of(link), NOW) == Link("shopify", "#1001", UNTIL)


def test_the_one_liner_of_the_readme_makes_the_same_signature() -> None:
    signature = hmac.new(KEY, f"shopify\n#1001\n{UNTIL}".encode(), hashlib.sha256).hexdigest()
    assert (
        query_of(make_link("https://shop.example", KEY, "shopify", "#1001", UNTIL))["signature"] == signature
    )


@pytest.mark.parametrize(
    ("_case", "changes", "why"),
    [
        ("another order", {"order": "#1002"}, "not valid"),
        ("another platform", {"platform": "woocommerce"}, "not valid"),
        ("a longer life", {"expires": str(UNTIL + 1)}, "not valid"),
        ("another signature", {"signature": "0" * 64}, "not valid"),
        ("a signature that is no ASCII", {"signature": "é" * 64}, "not valid"),
        ("no signature", {"signature": ""}, "not complete"),
        ("no order", {"order": ""}, "not complete"),
        ("no number for an end", {"expires": "soon"}, "not complete"),
        ("digits of another script", {"expires": "١٧"}, "not complete"),
        ("an endless number", {"order": "1" * 201}, "not valid"),
    ],
)
def test_whatever_is_changed_makes_a_link_bad(_case: str, changes: dict[str, str], why: str) -> None:
    query = query_of(make_link("https://shop.example", KEY, "shopify", "#1001", UNTIL)) | changes
    bad = read_link(KEY, query, NOW)
    assert isinstance(bad, BadLink)
    assert why in bad.why


def test_a_link_ends() -> None:
    query = query_of(make_link("https://shop.example", KEY, "shopify", "#1001", UNTIL))
    late = datetime.fromtimestamp(UNTIL + 1, UTC)
    assert read_link(KEY, query, late) == BadLink("the link is too old: ask for a new one")


def test_without_a_key_no_link_is_good() -> None:
    query = query_of(make_link("https://shop.example", b"", "shopify", "#1001", UNTIL))
    assert isinstance(read_link(b"", query, NOW), BadLink)
