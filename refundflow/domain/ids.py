"""Identifiers, told apart by type, and how the ones that we mint are made."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NewType

EventId = NewType("EventId", int)  # our row number in the inbox
CaseId = NewType("CaseId", str)
StepKey = NewType("StepKey", str)
PaymentId = NewType("PaymentId", str)  # "<payer platform>:<its reference>"

_YEAR_2100: Final = 4_102_444_800
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _base32(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, rest = divmod(value, 32)
        digits.append(_CROCKFORD[rest])
    return "".join(reversed(digits))


def mint_case_id(now: datetime, noise: int) -> CaseId:
    """A case id that sorts by time and is never used again, on any installation: `RF-` + 9 time + 6 noise characters.

    `noise`: at least 30 random bits. Installations share vendor accounts, and an idempotency key derived from a case
    must not meet the key of another one, so a counter would not do.
    """
    millis = int(now.timestamp() * 1000)
    return CaseId(f"RF-{_base32(millis, 9)}{_base32(noise, 6)}")


def opened_at(step_key: StepKey) -> int:
    """When the step's case was opened, in epoch seconds, as its id tells; 0 for an id that was not minted here."""
    digits = case_of(step_key).removeprefix("RF-")
    if len(digits) != 15 or not set(digits) <= set(_CROCKFORD):
        return 0
    seconds = sum(_CROCKFORD.index(d) * 32**i for i, d in enumerate(reversed(digits[:9]))) // 1000
    return seconds if seconds < _YEAR_2100 else 0


def mint_step_key(case_id: CaseId, kind: str, number: int) -> StepKey:
    """The key of one intention, for its whole life: `<case>.<kind>.<number>`, number counted from 1 per kind."""
    return StepKey(f"{case_id}.{kind}.{number}")


def case_of(step_key: StepKey) -> CaseId:
    """The case that a step belongs to."""
    return CaseId(step_key.split(".", 1)[0])


def wire_key(step_key: StepKey, key_number: int) -> str:
    """The idempotency key sent to vendors: the same for every re-run, replay and second worker of an intention.

    `key_number` grows only after a vendor's definite no, because vendors may answer an old key from memory.
    """
    return f"refundflow:{step_key}:{key_number}"
