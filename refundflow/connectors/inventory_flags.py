"""Any stock system as a source: the signed `POST /v1/inventory-flags`, version 1. (Our format; read 2026-11-25.)

Header `X-Refundflow-Signature: t=<epoch seconds>,v1=<hex>`: HMAC-SHA256 with a key of `REFUNDFLOW_FLAG_KEYS` over `<t>.<raw body>`;
several `v1` may be sent, and several keys may be set, while a key is being changed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from refundflow.connectors.portal_api import PortalApi
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    MalformedError,
    Reading,
    Refused,
    Verified,
)
from refundflow.settings import Secret
from refundflow.transport.base import parse_json

TOPIC: Final = "inventory.flagged"
FLAGS: Final = ("unfulfilled", "return-eligible")
SIGNATURE: Final = "x-refundflow-signature"
TOLERANCE_S: Final = 300
_FIELDS: Final = frozenset({"flag_id", "flag", "order", "platform", "lines", "note"})


@dataclass(frozen=True, slots=True)
class InventoryFlags:
    """Reads flags. `keys`: the shared keys, separated by commas; `api`: reads what both of our own bodies have in common."""

    platform: ClassVar[str] = "inventory-flags"
    keys: Secret
    api: PortalApi

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """Compares in constant time with every key, before the body is parsed."""
        stamp, given = read_signature(delivery.headers.get(SIGNATURE, ""))
        if not stamp or not given:
            return Refused(
                "X-Refundflow-Signature must be t=<epoch seconds>,v1=<hex HMAC-SHA256 over t.body>"
            )
        if abs(now.timestamp() - int(stamp)) > TOLERANCE_S:
            return Refused(
                f"the signature is more than {TOLERANCE_S} s away from now: sign at the moment of sending"
            )
        wanted = [sign(key, stamp, delivery.body) for key in _split(self.keys.reveal())]
        if not any(hmac.compare_digest(w.encode(), g.encode()) for w in wanted for g in given):
            return Refused("the signature does not fit the body")
        return Verified(event_id_of(delivery.body), TOPIC)

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Reads `{"flag_id", "flag": "unfulfilled" | "return-eligible", "order": …, "platform"?, "lines"?, "note"?}`; order and
        lines as in `POST /v1/cancellations`. Raises MalformedError naming the field.
        """
        plain = parse_json(body)
        if not isinstance(plain, dict):
            raise MalformedError("body", "must be a JSON object")
        if unknown := sorted(plain.keys() - _FIELDS):
            raise MalformedError(unknown[0], f"is not a field; there are {', '.join(sorted(_FIELDS))}")
        if plain.get("flag") not in FLAGS:
            raise MalformedError("flag", f"must be one of {', '.join(FLAGS)}")
        if not _flag_id(plain):
            raise MalformedError(
                "flag_id", "must be a text of 1 to 200 characters, the same whenever the flag is sent again"
            )
        order, lines, note = self.api.read_order(plain)
        return CancellationRequested(
            order=order,
            lines=lines,
            reason="inventory",
            requested_by="inventory",
            note=note or str(plain["flag"]),
        )


def sign(key: str, stamp: str, body: bytes) -> str:
    """The `v1` of a body at a time, in hexadecimal."""
    return hmac.new(key.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def read_signature(header: str) -> tuple[str, list[str]]:
    """Time stamp and signatures of a header; empty where it is none."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in parts if name == "t"]
    is_stamp = len(stamps) == 1 and stamps[0].isascii() and stamps[0].isdigit() and len(stamps[0]) <= 12
    return (
        stamps[0] if is_stamp else "",
        [value for name, _, value in parts if name == "v1" and value.isascii()],
    )


def event_id_of(body: bytes) -> str:
    """The sender's own id of the flag; a digest of the body where it has none, so that the delivery is kept all the same."""
    plain = parse_json(body)
    flag_id = _flag_id(plain) if isinstance(plain, dict) else ""
    return flag_id or f"sha256:{hashlib.sha256(body).hexdigest()}"


def _flag_id(plain: dict[str, Any]) -> str:
    flag_id = plain.get("flag_id")
    is_good = isinstance(flag_id, str) and 0 < len(flag_id) <= 200 and flag_id.isprintable()
    return str(flag_id) if is_good else ""


def _split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]
