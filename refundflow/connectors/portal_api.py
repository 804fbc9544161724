"""The shop's own site as a source: `POST /v1/cancellations` and its body, version 1. (Our format; read 2026-11-23.)

Verification is a bearer key checked at the front door; what is checked here is the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from refundflow.domain.facts import LineQuantity, OrderRef
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    MalformedError,
    Reading,
    Refused,
    Verified,
)
from refundflow.transport.base import parse_json

TOPIC: Final = "cancellation.requested"
REASONS: Final = ("customer", "declined", "fraud", "inventory", "staff", "other")
_FIELDS: Final = frozenset({"order", "platform", "lines", "reason", "requested_by", "note"})


@dataclass(frozen=True, slots=True)
class PortalApi:
    """Reads our own request body. `order_platform`: where an order lives when the body does not say."""

    platform: ClassVar[str] = "api"
    order_platform: str
    max_lines: int

    def verify(self, delivery: Delivery, now: datetime) -> Verified | Refused:
        """The front door checked the caller's key; the caller's idempotency key names the event."""
        key = delivery.headers.get("idempotency-key", "")
        return Verified(key, TOPIC) if key else Refused("the Idempotency-Key header is missing")

    def read_event(self, topic: str, body: bytes) -> Reading:
        """Reads `{"order": "#1001" | {"id": …} | {"number": …}, "lines": [{"line_id", "quantity"}], "reason", …}`.

        Raises MalformedError naming the field, for anything else, unknown fields included: a misspelt `lines` must not
        cancel a whole order.
        """
        plain = parse_json(body)
        if not isinstance(plain, dict):
            raise MalformedError("body", "must be a JSON object")
        unknown = sorted(plain.keys() - _FIELDS)
        if unknown:
            raise MalformedError(unknown[0], f"is not a field; there are {', '.join(sorted(_FIELDS))}")
        reason = plain.get("reason", "customer")
        if reason not in REASONS:
            raise MalformedError("reason", f"must be one of {', '.join(REASONS)}")
        return CancellationRequested(
            order=self._order(plain),
            lines=self._lines(plain.get("lines")),
            reason=reason,
            requested_by=_text(plain, "requested_by", 200),
            note=_text(plain, "note", 2000),
        )

    def read_order(self, plain: dict[str, Any]) -> tuple[OrderRef, tuple[LineQuantity, ...], str]:
        """The order, its lines and the note of a body of ours. Raises MalformedError."""
        return self._order(plain), self._lines(plain.get("lines")), _text(plain, "note", 2000)

    def _order(self, plain: dict[str, Any]) -> OrderRef:
        platform = _text(plain, "platform", 40) or self.order_platform
        match plain.get("order"):
            case str() as number if number.strip() and _is_text(number, 100):
                return OrderRef(platform, "", number.strip())
            case {"id": str() as order_id, **rest} if order_id and _is_text(order_id, 200) and not rest:
                return OrderRef(platform, order_id)
            case {"number": str() as number, **rest} if number and _is_text(number, 100) and not rest:
                return OrderRef(platform, "", number)
            case None:
                raise MalformedError("order", "is missing")
            case _:
                raise MalformedError("order", 'must be the order\'s number, {"id": "…"} or {"number": "…"}')

    def _lines(self, plain: Any) -> tuple[LineQuantity, ...]:
        if plain is None:
            return ()
        if not isinstance(plain, list) or not plain:
            raise MalformedError(
                "lines", "must be a list with at least one line; leave it out to cancel the whole order"
            )
        if len(plain) > self.max_lines:
            raise MalformedError("lines", f"has more than {self.max_lines} lines")
        lines = tuple(_line(index, item) for index, item in enumerate(plain))
        if len({line.line_id for line in lines}) != len(lines):
            raise MalformedError("lines", "names a line twice")
        return lines


def _line(index: int, item: Any) -> LineQuantity:
    match item:
        case {"line_id": str() as line_id, "quantity": int() as quantity, **rest} if (
            line_id
            and _is_text(line_id, 200)
            and not isinstance(quantity, bool)
            and 0 < quantity < 1_000_000
            and not rest
        ):
            return LineQuantity(line_id, quantity)
        case _:
            raise MalformedError(f"lines[{index}]", 'must be {"line_id": "…", "quantity": 1 or more}')


def _text(plain: dict[str, Any], name: str, limit: int) -> str:
    value = plain.get(name, "")
    if not isinstance(value, str) or not _is_text(value, limit):
        raise MalformedError(name, f"must be a text of at most {limit} characters, without NUL")
    return value


def _is_text(value: str, limit: int) -> bool:
    """Whether a text is short enough, and one that PostgreSQL can keep: no NUL, no half of a surrogate pair."""
    return len(value) <= limit and "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
