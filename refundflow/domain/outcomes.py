"""What one try at an effect came to, and what a look at it found. Values, never exceptions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """It is so, by this try. `reference`: the vendor's id of the effect; `detail`: facts worth keeping (a URL, a fee)."""

    reference: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """It was so before this try (by us earlier, or by somebody else)."""

    reference: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """Accepted; the final word comes later, by webhook or look-up."""

    reference: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Retryable:
    """Certainly nothing happened: try again with the same key. `after_s`: the vendor's own hint, where it gave one.

    `code`: "throttled", "unavailable", "not_sent", "unauthorised" (the house's fault: trips that platform's breaker).
    """

    code: str
    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Permanent:
    """The vendor's explicit no: certainly never will. `code`: the vendor's own, or ours (`amount_mismatch`)."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have happened. Look before anything else."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """A look found no trace of the effect.

    `conclusive_after_s`: how long after the send an absence proves that nothing happened (0: at once; some vendors
    show a new object only minutes later). `None`: this vendor cannot be looked at, absence proves nothing.
    `conclusive_until_s`: how long after the send the vendor certainly still shows it; `None`: for ever.
    """

    conclusive_after_s: float | None = 0.0
    reason: str = "no trace of it at the vendor"
    conclusive_until_s: float | None = None


Outcome = Done | AlreadyDone | Pending | Retryable | Permanent | Unknown
Found = Outcome | NotFound
