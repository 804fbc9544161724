"""An order that somebody cancels where it lives is cancelled wherever else it is held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from refundflow.demo.places import PlacedLine, PlacedOrder, PlacedPayment
from refundflow.domain.plan import Routing
from refundflow.domain.states import CaseState
from tests.support.drive import drive
from tests.support.practice import Shop, share_time

pytestmark = pytest.mark.integration

DAY_S: Final = 86_400.0
MIRRORS: Final = ("zoho-inventory", "sap-business-one")


def mirrored(shop: Shop, *, owner: str) -> PlacedOrder:
    share_time(shop)
    order = PlacedOrder(
        "shopify",
        3301,
        (PlacedLine("RED-60", "Acrylic red", 2, 1500),),
        (PlacedPayment("stripe", 3000),),
        mirrors=MIRRORS,
        is_stock_kept=owner == "shopify",
    )
    shop.place(order)
    routing = Routing(payers=(("stripe", "stripe"),), stock_owner=owner, mirrors=MIRRORS)
    shop.context = replace(shop.context, routing=routing)
    return order


def told_of_a_cancel(shop: Shop, order: PlacedOrder) -> Any:
    """A merchant cancels it in the shop, and the shop says so, twice."""
    order_id = order.order_id.rpartition("/")[2]
    shop.settle("shopify", order=order_id, staff_cancel="CUSTOMER")
    first = shop.news("shopify", "orders/cancelled", order_id, within_s=DAY_S)
    shop.news("shopify", "orders/cancelled", order_id, within_s=DAY_S)
    drive(shop.context, None, within_s=DAY_S)
    return shop.case(first.case_id)


@pytest.mark.parametrize("owner", ["zoho-inventory", ""])
def test_the_mirrors_follow_and_the_money_goes_back_once(shop: Shop, owner: str) -> None:
    order = mirrored(shop, owner=owner)
    case = told_of_a_cancel(shop, order)
    steps = shop.steps(case.case_id).values()
    story = "\n".join(f"{s.step_key} {s.action} {s.platform} {s.state.value} {s.reason}" for s in steps)
    assert case.state is CaseState.COMPLETE, story
    for mirror in MIRRORS:
        assert len(shop.book(mirror, "cancel_order")) == 1, story
    assert shop.money("stripe") == [(3000, "EUR")], story
    assert [c["state"] for c in shop.all_cases()] == ["complete"]


def test_where_everything_was_given_back_already_the_mirrors_still_follow(shop: Shop) -> None:
    order = mirrored(shop, owner="")
    shop.settle("stripe", payment_intent=order.reference(0), dashboard_refund={"amount": 3000})
    case = told_of_a_cancel(shop, order)
    assert case.state is CaseState.COMPLETE
    assert [len(shop.book(mirror, "cancel_order")) for mirror in MIRRORS] == [1, 1]
    assert shop.money("stripe") == [(3000, "EUR")], "what staff gave back, and nothing more"
