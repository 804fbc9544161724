"""Who returns the money of a payment, where a refund and a dispute meet: one party, and why, in words that a person can read.

Rule 5 of the rules of money. The provider has taken the money once a dispute is open, so while it is open or lost nothing of ours is
sent; a refund that had gone out before stands, and is the evidence in the dispute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from refundflow.domain.facts import DisputeState
from refundflow.domain.money import Money


class Payer(StrEnum):
    """SHOP: we did, or are about to. ELSEWHERE: somebody did by another way (a dashboard). PROVIDER: the bank, by the dispute.
    NOBODY: nothing is owed, or nothing was decided yet.
    """

    SHOP = "shop"
    ELSEWHERE = "elsewhere"
    PROVIDER = "provider"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Verdict:
    payer: Payer
    why: str


def name_payer(
    *, captured: Money, reserved: int, settled: int, external: int, dispute: DisputeState
) -> Verdict:
    """The one payer of a captured payment. `reserved`: set aside for refunds of ours on their way; `settled`: gone out by us;
    `external`: given back by others; all in minor units of `captured`'s currency.
    """
    out = Money(settled, captured.currency)
    is_taken = dispute in (DisputeState.OPEN, DisputeState.LOST)
    if settled and is_taken:
        return Verdict(
            Payer.SHOP,
            f"we had sent {out} back before the dispute, which is {dispute.value}: answer the dispute with that refund's reference; nothing more is sent",
        )
    if is_taken:
        return Verdict(
            Payer.PROVIDER,
            f"a dispute is {dispute.value}: the provider has taken the money for the customer, so we send nothing",
        )
    if settled:
        return Verdict(Payer.SHOP, f"we sent {out} back{_after(dispute)}")
    if reserved:
        return Verdict(
            Payer.SHOP,
            f"{Money(reserved, captured.currency)} is set aside for a refund of ours{_after(dispute)}",
        )
    if external:
        return Verdict(
            Payer.ELSEWHERE,
            f"{Money(external, captured.currency)} was given back outside of refundflow{_after(dispute)}",
        )
    return Verdict(Payer.NOBODY, f"no money has been returned{_after(dispute)}")


def _after(dispute: DisputeState) -> str:
    match dispute:
        case DisputeState.WARNING:
            return "; an early warning is open, and refunding is still possible"
        case DisputeState.WON:
            return "; a dispute was won, so the money is the shop's to return"
        case _:
            return ""
