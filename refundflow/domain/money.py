"""Money as integers in the minor units of an ISO 4217 currency; never a float."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Self

# ISO 4217 exponents that are not 2. Vendors that disagree with ISO say so in their own connector.
_EXPONENTS: Final = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}
_LARGEST_EXPONENT: Final = 60
_CODE: Final = re.compile(r"[A-Z]{3}")


def exponent_of(currency: str) -> int:
    """How many decimal places the currency's major unit has (ISO 4217)."""
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount. `minor`: minor units (cents for EUR); `currency`: ISO 4217 code in capitals.

    Raises ValueError for anything that is not an integer and a three-letter code.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if isinstance(self.minor, bool) or not isinstance(self.minor, int):
            raise ValueError(f"minor units are an integer, not {self.minor!r}")
        if not isinstance(self.currency, str) or not _CODE.fullmatch(self.currency):
            raise ValueError(f"currency is a three-letter ISO 4217 code, not {self.currency!r}")

    @classmethod
    def from_major(cls, text: str | Decimal, currency: str) -> Self:
        """Reads `"42.50"`; raises ValueError where the text has more decimals than the currency."""
        if not isinstance(text, str | Decimal):
            raise ValueError(f"not an amount: {text!r}")
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise ValueError(f"not an amount: {text!r}") from None
        if not value.is_finite() or value.adjusted() > _LARGEST_EXPONENT:
            raise ValueError(f"not an amount: {text!r}")
        # By digits, not by Decimal arithmetic: that rounds to its context's precision without a word.
        sign, digits, exponent = value.as_tuple()
        shift = int(exponent) + exponent_of(currency)
        whole = int("".join(map(str, digits)) or "0")
        scaled, rest = (
            (whole * 10**shift, 0) if shift >= 0 else divmod(whole, 10 ** min(-shift, len(digits) + 1))
        )
        if rest:
            raise ValueError(f"{text} has more decimals than {currency} allows")
        return cls(-scaled if sign else scaled, currency)

    @property
    def major(self) -> str:
        """The amount in major units as vendors write it: `"42.50"`, `"-0.05"`, `"1200"` for JPY."""
        places = exponent_of(self.currency)
        return str(Decimal(self.minor).scaleb(-places)) if places else str(self.minor)

    def __str__(self) -> str:
        return f"{self.major} {self.currency}"

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other), self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not mix")
        return other.minor


def allocate(minor: int, capacities: Sequence[int]) -> tuple[int, ...]:
    """Spreads an amount over payments in the order given, each taking no more than it can give back.

    The last one that is touched takes the remainder, so the parts always sum to the amount. Raises ValueError when the
    capacities together are smaller than the amount: nobody may give back more than was captured.
    """
    if minor < 0 or any(capacity < 0 for capacity in capacities):
        raise ValueError("amounts to allocate are not negative")
    if minor > sum(capacities):
        raise ValueError(f"cannot allocate {minor} over {sum(capacities)}")
    parts = []
    for capacity in capacities:
        part = min(minor, capacity)
        parts.append(part)
        minor -= part
    return tuple(parts)
