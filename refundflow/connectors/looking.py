"""What a look means, for platforms that give no help against repeats: before a write, and after one whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from refundflow.connectors.base import NoAnswer
from refundflow.domain.outcomes import NotFound, Permanent, Retryable, Unknown
from refundflow.transport.base import MaybeSentError

Seen = TypeVar("Seen")

_BLIND = "could not look before the write"


def look_first(
    look: Callable[[], Seen | NotFound | NoAnswer], *, undone: str = _BLIND
) -> Seen | Permanent | Retryable:
    """The look before a write. Whatever goes wrong with it, nothing was sent yet: a lost answer to this question must not be
    told as a lost answer to the write. `undone`: what did not come about, for people.
    """
    try:
        found = look()
    except MaybeSentError as error:
        return Retryable("not_sent", f"{undone}: {error.reason}")
    match found:
        case NotFound(reason=reason):
            return Permanent("not_found", reason)
        case Unknown(reason=reason):
            return Retryable("unavailable", f"{undone}: {reason}")
        case _:
            return found


def uncertain(no: NotFound | NoAnswer) -> Retryable | Unknown:
    """A look that got no answer, or saw nothing to look at: nothing of it says that the effect is absent."""
    match no:
        case Permanent(code=code, reason=reason):
            return Unknown(f"could not look ({code}): {reason}")
        case NotFound(reason=reason):
            return Unknown(f"could not look: {reason}")
        case _:
            return no
