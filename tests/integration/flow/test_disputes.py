"""Refund and dispute in every order of arrival: never more out than was captured, one payer, and words that say who."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

import pytest

from refundflow.domain.arbiter import Payer, Verdict, name_payer
from refundflow.domain.facts import DisputeState
from refundflow.domain.money import Money
from refundflow.flow import people
from refundflow.flow.context import RefusedError
from tests.support.drive import drive
from tests.support.practice import Shop, intent_of

pytestmark = pytest.mark.integration

WHOLE: Final = 4250
DAY_S: Final = 86_400.0
HAPPENINGS: Final = (
    "refund request",
    "early warning",
    "dispute opened",
    "dispute lost",
    "refund failed",
    "dispute won",
)
ORDERS: Final = tuple(permutations(HAPPENINGS))
#: So many orders run always; all 720 in the campaign. Drawn once, so that every run draws the same.
ALWAYS: Final = 16


@dataclass
class Story:
    """One order of happenings, at the payer and at our door. What cannot have happened yet happens unseen first: a dispute that is
    lost was opened before, even where nobody told us of it.
    """

    shop: Shop
    disputes: list[str] = field(default_factory=list)
    is_closed: bool = False
    told_of: list[str] = field(default_factory=list)

    def tell(self, topic: str, target: str) -> None:
        self.told_of.append(topic)
        self.shop.news("stripe", topic, target, within_s=60)

    def refund_request(self) -> None:
        received = self.shop.receive(self.shop.ask())
        drive(self.shop.context, received.wave, within_s=60)

    def early_warning(self) -> None:
        warning = self.shop.settle("stripe", payment_intent=intent_of("#1001"), early_fraud_warning="misc")[0]
        self.tell("radar.early_fraud_warning.created", warning["id"])

    def _dispute(self) -> str:
        """The dispute that is open at the payer; opened now where there is none."""
        if not self.disputes or self.is_closed:
            opened = self.shop.settle("stripe", payment_intent=intent_of("#1001"), open_dispute={})[0]
            self.disputes.append(opened["id"])
            self.is_closed = False
        return self.disputes[-1]

    def dispute_opened(self) -> None:
        # Where it is open or closed already, this is the late delivery of how it began.
        target = self.disputes[-1] if self.disputes else self._dispute()
        self.tell("charge.dispute.created", target)

    def dispute_lost(self) -> None:
        self._close("lost")

    def dispute_won(self) -> None:
        self._close("won")

    def _close(self, status: str) -> None:
        target = self._dispute()
        self.shop.settle("stripe", dispute=target, status=status)
        self.is_closed = True
        self.tell("charge.dispute.closed", target)

    def refund_failed(self) -> None:
        """The payer's refund fails, if there is one; else one that nobody of us made, in the payer's dashboard, does."""
        made = self.shop.book("stripe", "refund")
        standing = [line["id"] for line in made if line["id"] not in self.failed]
        if not standing:
            return
        self.shop.settle("stripe", refund=standing[-1], status="failed")
        self.tell("refund.failed", standing[-1])

    @property
    def failed(self) -> set[str]:
        return {line["id"] for line in self.shop.book("stripe", "refund_failed")}


def out(shop: Shop) -> int:
    """What has left the shop, by the payer's own book: refunds that stand, and what disputes took."""
    signs = {"refund": 1, "refund_failed": -1, "dispute_withdrawn": 1, "dispute_reinstated": -1}
    return sum(signs.get(line["effect"], 0) * (line["amount_minor"] or 0) for line in shop.book("stripe"))


def verdict_of(shop: Shop) -> Verdict:
    (payment,) = shop.rows("SELECT * FROM payments")
    return name_payer(
        captured=Money(payment["captured"], payment["currency"]),
        reserved=payment["reserved"],
        settled=payment["settled"],
        external=payment["external"],
        dispute=DisputeState(payment["dispute"]),
    )


def sent(shop: Shop) -> int:
    return len(shop.book("stripe", "refund"))


def walk(shop: Shop, order: tuple[str, ...]) -> None:
    shop.order()
    story = Story(shop)
    for happening in order:
        before, is_taken = sent(shop), _is_taken(story)
        step: Callable[[], None] = getattr(story, happening.replace(" ", "_"))
        step()
        assert out(shop) <= WHOLE, (order, happening, shop.book("stripe"))
        if is_taken and happening != "refund failed":
            assert sent(shop) == before or not _is_taken(story), (order, happening)
    drive(shop.context, None, within_s=9 * DAY_S)
    assert out(shop) <= WHOLE, (order, shop.book("stripe"))
    # A person who lets every case go on cannot make it pay twice either.
    for case in shop.all_cases():
        for act in (people.approve, people.replan):
            try:
                _, wave = act(shop.context, case["case_id"], operator="grace", reason="to be sure")
            except RefusedError:
                continue
            drive(shop.context, wave, within_s=DAY_S)
    assert out(shop) <= WHOLE, (order, shop.book("stripe"))
    rows = shop.rows("SELECT captured, reserved, settled FROM payments")
    assert all(row["reserved"] + row["settled"] <= row["captured"] for row in rows)
    verdict = verdict_of(shop)
    stands = sum(line["amount_minor"] for line in shop.book("stripe", "refund")) - sum(
        line["amount_minor"] for line in shop.book("stripe", "refund_failed")
    )
    assert (verdict.payer is Payer.SHOP) is (stands > 0), (order, verdict, shop.book("stripe"))
    assert len(verdict.why) > 20, "in words that a person can read"


def _is_taken(story: Story) -> bool:
    return bool(story.disputes) and not story.is_closed


def chosen() -> list[tuple[str, ...]]:
    return random.Random(720).sample(ORDERS, ALWAYS)


@pytest.mark.parametrize("order", chosen(), ids=", ".join)
def test_whatever_comes_first_one_party_pays_once(shop: Shop, order: tuple[str, ...]) -> None:
    walk(shop, order)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_all_720_orders_of_arrival(shop: Shop) -> None:
    from tests.support.practice import empty

    for order in ORDERS:
        shop.vendors.reset()
        empty(shop.db)
        walk(shop, order)


@pytest.mark.parametrize(
    ("_case", "sums", "dispute", "payer", "words"),
    [
        ("nothing", (0, 0, 0), "none", Payer.NOBODY, "no money has been returned"),
        ("on its way", (4250, 0, 0), "none", Payer.SHOP, "42.50 EUR is set aside"),
        ("sent", (0, 4250, 0), "none", Payer.SHOP, "we sent 42.50 EUR back"),
        (
            "sent, then disputed",
            (0, 4250, 0),
            "open",
            Payer.SHOP,
            "answer the dispute with that refund's reference",
        ),
        ("disputed", (0, 0, 0), "open", Payer.PROVIDER, "so we send nothing"),
        ("lost", (0, 0, 0), "lost", Payer.PROVIDER, "a dispute is lost"),
        ("won", (0, 0, 0), "won", Payer.NOBODY, "the money is the shop's to return"),
        ("warned", (0, 0, 0), "warning", Payer.NOBODY, "refunding is still possible"),
        ("by a dashboard", (0, 0, 4250), "none", Payer.ELSEWHERE, "outside of refundflow"),
    ],
)
def test_one_payer_is_named(
    _case: str, sums: tuple[int, int, int], dispute: str, payer: Payer, words: str
) -> None:
    reserved, settled, external = sums
    told: Any = name_payer(
        captured=Money(4250, "EUR"),
        reserved=reserved,
        settled=settled,
        external=external,
        dispute=DisputeState(dispute),
    )
    assert told.payer is payer
    assert words in told.why
