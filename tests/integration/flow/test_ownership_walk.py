"""Every way in which a shop can be put together, walked with the real connectors against the practice vendors' own books: money
returned exactly once, stock put back exactly once, every book told.

The whole walk is a campaign; a stretch of it, in which every platform, payer, owner, book and state of an order occurs, runs always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import pytest

from refundflow.demo.places import OWN_GATEWAY, PlacedLine, PlacedOrder, PlacedPayment
from refundflow.domain.plan import Routing
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import StepKind
from refundflow.flow import people
from refundflow.sandbox.zoho_inventory import CLEARING_ACCOUNT_ID
from tests.support.drive import drive
from tests.support.practice import LOCATION, Shop, share_time

pytestmark = pytest.mark.integration

LINES: Final = (PlacedLine("RED-60", "Acrylic red", 2, 890), PlacedLine("CANVAS", "Canvas", 1, 1250))
TOTAL: Final = 3030
WEEK_S: Final = 7 * 86_400.0
#: The account that refunds leave from, as each of the books calls it, and how each numbers its sales.
BOOKS: Final = {
    "": ("", "{number}"),
    "xero": ("092", "INV-{number}"),
    "quickbooks-commerce": ("35", "INV-{number}"),
    "zoho-inventory": (CLEARING_ACCOUNT_ID, "INV-{number}"),
    "sap-business-one": ("161020", "{number}"),
}
SHOPS: Final = ("shopify", "woocommerce", "magento", "bigcommerce", "square")
PAYERS: Final = ("own", "stripe", "paypal")
STOCK: Final = ("itself", "zoho-inventory", "sap-business-one", "")
STATES: Final = ("captured", "authorised", "unpaid")
SCOPES: Final = ("whole", "lines")
#: Shops that take units out of stock when an order is paid for, and not before.
TAKES_NOTHING_YET: Final = {("woocommerce", "unpaid"), ("square", "unpaid"), ("square", "authorised")}
MONEY: Final = ("shopify", "woocommerce", "magento", "bigcommerce", "square", "stripe", "paypal")


@dataclass(frozen=True)
class Way:
    """One way to put a shop together, and what is asked of it."""

    shop: str
    payer: str
    stock: str
    books: str
    state: str
    scope: str

    def __str__(self) -> str:
        return "-".join(
            (self.shop, self.payer, self.stock or "nobody", self.books or "nobody", self.state, self.scope)
        )

    @property
    def owner(self) -> str:
        return self.shop if self.stock == "itself" else self.stock

    @property
    def mirrors(self) -> tuple[str, ...]:
        """A system that holds the stock, or the books of an ERP, holds the order too."""
        wanted = {self.stock, self.books} & {"zoho-inventory", "sap-business-one"}
        return tuple(sorted(wanted))

    @property
    def owed(self) -> int:
        if self.state != "captured":
            return 0
        return TOTAL if self.scope == "whole" else 890


def ways() -> Iterator[Way]:
    for shop, payer, stock, books, state, scope in product(SHOPS, PAYERS, STOCK, BOOKS, STATES, SCOPES):
        if shop == "square" and payer != "own":
            continue  # Square takes the money of its orders itself
        if state == "unpaid" and payer != "own":
            continue  # nobody paid, so nobody was paid through
        yield Way(shop, payer, stock, books, state, scope)


ALL: Final = tuple(ways())


def stretch() -> tuple[Way, ...]:
    """The smallest part of the walk, chosen greedily, in which every pair of choices occurs."""
    left = {pair for way in ALL for pair in pairs(way)}
    chosen: list[Way] = []
    while left:
        best = max(ALL, key=lambda way: len(left & pairs(way)))
        chosen.append(best)
        left -= pairs(best)
    return tuple(chosen)


def pairs(way: Way) -> set[tuple[Any, ...]]:
    choices = list(enumerate((way.shop, way.payer, way.stock, way.books, way.state, way.scope)))
    return {(a, b) for i, a in enumerate(choices) for b in choices[i + 1 :]}


SHORT: Final = stretch()


def walk(shop: Shop, way: Way, serial: int) -> None:
    """Places the order, asks, lets people do what is asked of them, and reads all books."""
    share_time(shop)
    payments = () if way.state == "unpaid" else (PlacedPayment(way.payer, TOTAL, way.state == "captured"),)
    order = PlacedOrder(
        way.shop,
        serial,
        LINES,
        payments,
        mirrors=way.mirrors,
        books=way.books,
        is_booked_paid=way.state == "captured",
        is_stock_kept=way.owner == way.shop,
    )
    shop.place(order)
    account, number = BOOKS[way.books]
    shop.context = replace(
        shop.context,
        routing=Routing(
            order_platform=way.shop,
            payers=((OWN_GATEWAY[way.shop], way.shop), ("stripe", "stripe"), ("paypal", "paypal")),
            stock_owner=way.owner,
            stock_location=LOCATION if way.owner == "shopify" else "",
            mirrors=way.mirrors,
            books=way.books,
            refund_account_code=account,
            invoice_number=number,
        ),
    )
    asked: dict[str, Any] = {"platform": way.shop}
    if way.scope == "lines":
        asked["lines"] = [{"line_id": order.line_id(0), "quantity": 1}]
    received = shop.receive(shop.ask(order.number, **asked))
    assert received.case_id, received
    drive(shop.context, received.wave, within_s=60)
    tasks = finish(shop, received.case_id)
    check(shop, way, received.case_id, tasks)


def finish(shop: Shop, case_id: str) -> list[str]:
    """People approve what is held and do what they are asked; refunds that take their time become final. Returns the tasks."""
    done: list[str] = []
    for _ in range(4):
        if shop.case(case_id).state is CaseState.HELD:
            _, wave = people.approve(shop.context, case_id, operator="grace", reason="looked at it")
            drive(shop.context, wave, within_s=60)
        shop.settle_square()
        drive(shop.context, None, within_s=WEEK_S)
        waiting = [
            s
            for s in shop.steps(case_id).values()
            # What Zoho does not show (whether a credit note freed what was reserved) a person looks up there.
            if s.state is StepState.DEAD_LETTERED
            and (s.kind is StepKind.HUMAN_TASK or s.code == "not_proven")
        ]
        for step in waiting:
            done.append(step.platform)
            wave = people.resolve(shop.context, step.step_key, operator="grace", proof="done")
            drive(shop.context, wave, within_s=60)
    return done


def check(shop: Shop, way: Way, case_id: str, tasks: list[str]) -> None:
    story = "\n".join(
        f"{s.step_key} {s.action} {s.platform} {s.state.value} {s.amount} {s.code} {s.reason}"
        for s in shop.steps(case_id).values()
    )
    case = shop.case(case_id)
    assert case.state is CaseState.COMPLETE, f"{case.state} {case.why}\n{story}"

    out = {vendor: sum(minor for minor, _ in shop.money(vendor, "refund")) for vendor in MONEY}
    payer = way.shop if way.payer == "own" else way.payer
    assert {vendor: minor for vendor, minor in out.items() if minor} == (
        {payer: way.owed} if way.owed else {}
    ), story
    if way.state == "authorised" and way.scope == "whole":
        released = [line for vendor in MONEY for line in shop.book(vendor, "void")]
        # A shop whose plugin releases with the cancel, and a payer that was asked besides, are one release.
        assert len({line["id"] for line in released}) <= 1 + (way.payer != "own"), story

    units: Counter[str] = Counter()
    if way.owner:
        for line in (*shop.book(way.owner, "restock"), *shop.book(way.owner, "adjust_inventory")):
            units[line["sku"]] += line["quantity"]
        by_hand = way.owner in tasks or (way.shop in tasks and way.scope == "lines" and not units)
        wanted = {"RED-60": 2, "CANVAS": 1} if way.scope == "whole" else {"RED-60": 1}
        if way.stock != "itself":
            prefix = (
                "V-" if way.shop == "square" else ""
            )  # Square's orders name articles by the catalogue's id
            wanted = {f"{prefix}{sku}": quantity for sku, quantity in wanted.items()}
        elif (way.shop, way.state) in TAKES_NOTHING_YET:
            wanted = {}
        assert dict(units) == ({} if by_hand and not units else wanted), story
    # A cancel in Magento ends its own reservation, which its book calls by the same name, whoever owns the stock.
    for other in {"shopify", "woocommerce", "bigcommerce", "square"} - {way.owner}:
        assert shop.book(other, "restock") == [], f"{other} is not the owner\n{story}"

    if way.books and way.owed:
        effect = "record_refund"
        booked = sum(line["amount_minor"] for line in shop.book(way.books, effect))
        assert booked == way.owed, story
    if way.books and way.state != "captured" and way.scope == "whole" and way.books not in tasks:
        told = [
            x for e in ("void_invoice", "credit_note", "create_credit_note") for x in shop.book(way.books, e)
        ]
        assert len(told) == 1, story


def test_the_short_walk_meets_every_pair_of_choices() -> None:
    met = {pair for way in SHORT for pair in pairs(way)}
    assert met == {pair for way in ALL for pair in pairs(way)}
    assert len(SHORT) < len(ALL) / 10


@pytest.mark.parametrize("way", SHORT, ids=str)
def test_money_and_stock_go_back_once_and_every_book_is_told(shop: Shop, way: Way) -> None:
    walk(shop, way, 4001)


@pytest.mark.campaign
@pytest.mark.parametrize("way", ALL, ids=str)
def test_the_whole_walk(shop: Shop, way: Way) -> None:
    walk(shop, way, 4001)
