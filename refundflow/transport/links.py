"""Signed, expiring links to a customer's page: `<base>/portal?platform=…&order=…&expires=…&signature=…`.

The signature is the hexadecimal HMAC-SHA256 with `REFUNDFLOW_PORTAL_KEY` over platform, order number and expiry (epoch seconds), one
in a line, so that a shop's own site makes such a link in one line of whatever it is written in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Link:
    """What a good link says: an order by platform slug and number, and until when (epoch seconds)."""

    platform: str
    number: str
    expires: int


@dataclass(frozen=True, slots=True)
class BadLink:
    """`why`: for people; says nothing about what a good link would be."""

    why: str


def signature_of(key: bytes, platform: str, number: str, expires: int) -> str:
    """The link's signature, 64 hexadecimal digits."""
    return hmac.new(key, f"{platform}\n{number}\n{expires}".encode(), hashlib.sha256).hexdigest()


def make_link(base_url: str, key: bytes, platform: str, number: str, expires: int) -> str:
    """The address to give to the customer. `expires`: epoch seconds."""
    query = {
        "platform": platform,
        "order": number,
        "expires": str(expires),
        "signature": signature_of(key, platform, number, expires),
    }
    return f"{base_url.rstrip('/')}/portal?{urlencode(query)}"


def read_link(key: bytes, query: Mapping[str, str], now: datetime) -> Link | BadLink:
    """Checks a link's query in constant time. `now`: aware UTC."""
    platform, number = query.get("platform", ""), query.get("order", "")
    expires, given = query.get("expires", ""), query.get("signature", "")
    if not (platform and number and given and expires.isascii() and expires.isdigit() and len(expires) <= 12):
        return BadLink("the link is not complete: open it as it was sent, or ask for a new one")
    if len(number) > _LONGEST or len(platform) > _LONGEST or not key:
        return BadLink("the link is not valid")
    wanted = signature_of(key, platform, number, int(expires))
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        return BadLink("the link is not valid: open it as it was sent, or ask for a new one")
    if now.timestamp() > int(expires):
        return BadLink("the link is too old: ask for a new one")
    return Link(platform, number, int(expires))
