"""Signatures of deliveries: keyed digests over raw bytes, compared in constant time, and how old they may be."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

Algorithm = Literal["sha1", "sha256", "sha512"]


def sign(secret: str, message: bytes, algorithm: Algorithm = "sha256") -> bytes:
    """The raw HMAC of the message. `secret`: used as its UTF-8 bytes.

    Raises ValueError for an empty secret: a signature under an empty key is one that anybody can make.
    """
    if not secret:
        raise ValueError("a secret to sign with must not be empty")
    return hmac.new(secret.encode(), message, getattr(hashlib, algorithm)).digest()


def sign_hex(secret: str, message: bytes, algorithm: Algorithm = "sha256") -> str:
    """The HMAC in lower-case hexadecimal."""
    return sign(secret, message, algorithm).hex()


def sign_base64(secret: str, message: bytes, algorithm: Algorithm = "sha256") -> str:
    """The HMAC in standard base64 with padding."""
    return base64.b64encode(sign(secret, message, algorithm)).decode()


def is_same(expected: str, given: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogateescape"))


def is_any(expected: Iterable[str], given: Iterable[str]) -> bool:
    """Whether any of the given signatures is any of the expected ones. Every pair is compared, so that the time tells
    nothing; nothing expected is never a match.
    """
    offered = tuple(given)
    matches = [is_same(ours, theirs) for ours in expected for theirs in offered]
    return True in matches


def split_secrets(secrets: str) -> tuple[str, ...]:
    """The secrets of a comma-separated list: while a secret is being rotated, the old and the new one both hold."""
    return tuple(part for part in (raw.strip() for raw in secrets.split(",")) if part)


def is_fresh(timestamp_s: int, now: datetime, tolerance_s: float) -> bool:
    """Whether a Unix time is no further from `now` (aware) than the tolerance, on either side.

    The future is bounded as well: a signature dated ahead would otherwise be replayable until its date.
    """
    return abs(now.timestamp() - timestamp_s) <= tolerance_s
