"""Ownership across platforms: for every way in which a shop can be put together, one payer, one owner of the stock, every
book told, and nothing planned twice. What the vendors' books say of the same is in tests/integration/flow.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from refundflow.domain.commands import (
    CancelLines,
    CancelOrder,
    CreditNote,
    HumanTask,
    RecordOrderRefund,
    RecordRefund,
    Refund,
    Restock,
    VoidInvoice,
    VoidPayment,
)
from refundflow.domain.facts import (
    Facts,
    InvoiceFacts,
    InvoiceState,
    LineQuantity,
    OrderFacts,
    PaymentFacts,
    RefundedBy,
    TakesBack,
    Tender,
)
from refundflow.domain.plan import Routing, plan_steps, underway_of
from refundflow.domain.policy import Policy, Verdict, Wanted, decide_case
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step, StepKind
from tests.support.facts import (
    CASE,
    GENEROUS,
    NOW,
    a_line,
    an_invoice,
    an_order,
    authorised,
    captured,
    eur,
    in_state,
)

#: What each order platform says of an unshipped order: how the whole and parts are taken back, and so on.
SHOPS: dict[str, dict[str, object]] = {
    "shopify": {},
    "woocommerce": {"cancels_lines": TakesBack.REFUND, "records_refunds": True},
    "magento-invoiced": {
        "cancels": TakesBack.REFUND,
        "cancels_lines": TakesBack.REFUND,
        "records_refunds": True,
    },
    "magento-open": {"cancels_lines": TakesBack.PERSON, "records_refunds": True},
    "bigcommerce": {
        "cancels_lines": TakesBack.REFUND,
        "records_refunds": True,
        "is_restock_carried": False,
        "releases_authorisations": False,
    },
    "square": {
        "cancels_lines": TakesBack.PERSON,
        "is_restock_carried": False,
        "releases_authorisations": False,
    },
}
PAYERS = ("itself", "stripe", "paypal")
STOCK = ("itself", "erp", "nobody")
BOOKS = ("note", "receipt", "erp", "nobody")
STATES = ("captured", "authorised", "two_payers", "nothing_paid")
SCOPES = ("whole", "lines")

LINES = (a_line("A", 2, unit=1000), a_line("B", 1, unit=500))
TOTAL = 2500


def order_of(shop: str) -> OrderFacts:
    platform = shop.split("-")[0]
    return an_order(*LINES, platform=platform, **SHOPS[shop])


def payments_of(shop: str, payer: str, state: str) -> tuple[PaymentFacts, ...]:
    platform = shop.split("-")[0]
    slug = platform if payer == "itself" else payer
    match state:
        case "captured":
            return (captured(TOTAL, "pay_1", platform=slug, gateway=slug),)
        case "authorised":
            return (authorised(TOTAL, "pay_1", platform=slug, gateway=slug),)
        case "two_payers":
            return (
                captured(1500, "pay_1", platform=slug, gateway=slug),
                captured(1000, "pay_2", platform="adyen", gateway="adyen"),
            )
        case _:
            return ()


def facts_of(shop: str, payer: str, stock: str, books: str, state: str, scope: str) -> Facts:
    order = order_of(shop)
    payments = payments_of(shop, payer, state)
    was_paid = any(p.captured.minor for p in payments)
    by_erp = TakesBack.REFUND if books == "erp" and was_paid else TakesBack.CALL
    erp = replace(
        order,
        platform="erp",
        order_id="E1",
        cancels=by_erp,
        cancels_lines=TakesBack.PERSON,
        records_refunds=False,
    )
    invoice: InvoiceFacts | None = None
    if books != "nobody":
        paid = TOTAL if was_paid else 0
        invoice = replace(
            an_invoice(TOTAL, paid=paid, state=InvoiceState.PAID if paid else InvoiceState.OPEN),
            platform=books,
            refunded_by=RefundedBy.RECEIPT if books == "receipt" else RefundedBy.NOTE,
            is_allocated=books == "note",
        )
    quoted = (LineQuantity("A", 1),) if scope == "lines" else ()
    return Facts(
        read_at=NOW,
        order=order,
        payments=payments,
        invoice=invoice,
        quote=eur(1000) if quoted else None,
        quoted=quoted,
        mirrors=(erp,) if "erp" in (stock, books) else (),
    )


def routing_of(shop: str, stock: str, books: str) -> Routing:
    platform = shop.split("-")[0]
    return Routing(
        order_platform=platform,
        payers=tuple((slug, slug) for slug in (platform, "stripe", "paypal", "adyen")),
        stock_owner={"itself": platform, "erp": "erp", "nobody": ""}[stock],
        mirrors=("erp",) if "erp" in (stock, books) else (),
        books="" if books == "nobody" else books,
        refund_account_code="" if books == "nobody" else "090",
    )


def plan(facts: Facts, routing: Routing, scope: str, existing: list[Step] | None = None) -> list[Step]:
    wanted = Wanted(lines=(LineQuantity("A", 1),) if scope == "lines" else ())
    wanted = replace(wanted, underway=underway_of(existing or []))
    decision = decide_case(facts, wanted, GENEROUS, approved_by="grace")
    return plan_steps(CASE, facts, decision, routing, existing or [])


ALL = list(product(SHOPS, PAYERS, STOCK, BOOKS, STATES, SCOPES))


def commands(steps: list[Step], *kinds: type) -> list[Step]:
    return [s for s in steps if isinstance(s.command, kinds) and s.kind is not StepKind.HUMAN_TASK]


def raises_stock(steps: list[Step]) -> Counter[str]:
    """How many units each step of the plan puts back, whoever does it and however; by platform."""
    units: Counter[str] = Counter()
    for step in steps:
        match step.command:
            case CancelOrder(restock=True):
                units[step.platform] += 3
            case CreditNote(restock=True, items=items):
                units[step.platform] += sum(x.quantity for x in items)
            case CancelLines(restock=True, lines=lines):
                units[step.platform] += sum(x.quantity for x in lines)
            case (
                Refund(takes_out=True, restock=True, lines=lines)
                | RecordOrderRefund(takes_out=True, restock=True, lines=lines)
            ):
                units[step.platform] += sum(x.quantity for x in lines)
            case Restock(carried_by="", lines=lines):
                units[step.platform] += sum(x.quantity for x in lines)
            case _:
                pass
    return units


@pytest.mark.parametrize(("shop", "payer", "stock", "books", "state", "scope"), ALL)
def test_one_payer_one_owner_of_the_stock_and_every_book_told(
    shop: str, payer: str, stock: str, books: str, state: str, scope: str
) -> None:
    facts = facts_of(shop, payer, stock, books, state, scope)
    routing = routing_of(shop, stock, books)
    steps = plan(facts, routing, scope)
    owed = {"captured": TOTAL, "two_payers": TOTAL}.get(state, 0) if scope == "whole" else 1000
    if state in ("authorised", "nothing_paid"):
        owed = 0

    # Money: what is owed, once, and of each payment by its own payer only.
    refunds = commands(steps, Refund)
    assert sum(s.amount.minor for s in refunds if s.amount) == owed
    payers = {p.reference: p.platform for p in facts.payments}
    for step in refunds:
        assert isinstance(step.command, Refund)
        assert step.platform == payers[step.command.payment_reference]
    assert len({s.payment_id for s in refunds}) == len(refunds)
    # The order platform writes down what others paid, and never what it pays itself.
    records = commands(steps, RecordOrderRefund)
    elsewhere = sum(s.amount.minor for s in refunds if s.amount and s.platform != facts.order.platform)
    assert sum(s.amount.minor for s in records if s.amount) == (
        elsewhere if facts.order.records_refunds else 0
    )
    for record in records:
        assert {s.step_key for s in refunds if s.platform != facts.order.platform} <= set(record.needs)

    # Stock: one owner, every unit once, or a person who takes the units out and thereby puts them back.
    units = raises_stock(steps)
    wanted_units = 3 if scope == "whole" else 1
    people = [s for s in steps if s.kind is StepKind.HUMAN_TASK]
    asked = {s.platform for s in people}
    if stock == "nobody" or (routing.stock_owner in asked and not units):
        assert not units
    else:
        assert units == {routing.stock_owner: wanted_units}, [str(s.command) for s in steps]

    # Books: a note or receipts over exactly what went back, or a void where nothing was sold.
    if books != "nobody":
        voids, notes = commands(steps, VoidInvoice), commands(steps, CreditNote)
        payments_booked = commands(steps, RecordRefund)
        assert sum(s.amount.minor for s in payments_booked if s.amount) == owed
        if owed and books == "receipt":
            assert not notes
            assert len(payments_booked) == len(refunds)
        if owed and books != "receipt":
            assert sum(s.amount.minor for s in notes if s.amount) == owed
        if not owed and scope == "whole":
            assert len(voids) == 1
            assert not notes

    # A step comes after what it needs; planning again adds nothing.
    seen: set[str] = set()
    for step in steps:
        assert set(step.needs) <= seen, step
        seen.add(step.step_key)
    for later in (StepState.PLANNED, StepState.IN_FLIGHT, StepState.DEAD_LETTERED):
        assert plan(facts, routing, scope, in_state(steps, later)) == []


def test_every_way_to_put_a_shop_together_is_walked() -> None:
    assert len(ALL) == 6 * 3 * 3 * 4 * 4 * 2


# ------------------------------------------------------------------------------------------------ how units leave an order


def test_a_shop_whose_refund_takes_the_units_out_is_told_so_once() -> None:
    facts = facts_of("woocommerce", "itself", "itself", "nobody", "captured", "lines")
    (refund, restock) = plan(facts, routing_of("woocommerce", "itself", "nobody"), "lines")
    assert isinstance(refund.command, Refund)
    assert (refund.command.lines, refund.command.takes_out, refund.command.restock) == (
        (LineQuantity("A", 1),),
        True,
        True,
    )
    assert isinstance(restock.command, Restock)
    assert (restock.command.carried_by, restock.needs) == (refund.step_key, (refund.step_key,))


def test_where_another_payer_refunds_the_record_takes_the_units_out() -> None:
    facts = facts_of("magento-invoiced", "stripe", "itself", "nobody", "captured", "whole")
    refund, record, restock = plan(facts, routing_of("magento-invoiced", "itself", "nobody"), "whole")
    assert isinstance(refund.command, Refund)
    assert (refund.platform, refund.command.takes_out, refund.command.restock) == ("stripe", False, False)
    assert isinstance(record.command, RecordOrderRefund)
    assert (record.command.takes_out, record.command.restock, record.command.is_whole) == (True, True, True)
    assert (record.amount, record.uses) == (eur(TOTAL), (("refund_reference.1", refund.step_key),))
    assert isinstance(restock.command, Restock)
    assert restock.command.carried_by == record.step_key


def test_the_mirror_is_cancelled_after_the_shop_and_money_waits_for_both() -> None:
    facts = facts_of("shopify", "stripe", "erp", "nobody", "captured", "whole")
    steps = plan(facts, routing_of("shopify", "erp", "nobody"), "whole")
    shop, mirror = commands(steps, CancelOrder)
    assert (shop.platform, shop.needs) == ("shopify", ())
    assert (mirror.platform, mirror.needs) == ("erp", (shop.step_key,))
    assert isinstance(shop.command, CancelOrder)
    assert isinstance(mirror.command, CancelOrder)
    assert (shop.command.restock, mirror.command.restock, mirror.command.order_id) == (False, True, "E1")
    (refund,) = commands(steps, Refund)
    assert refund.needs == (shop.step_key, mirror.step_key)
    (restock,) = commands(steps, Restock)
    assert (restock.platform, restock.needs) == ("erp", (mirror.step_key,))


def test_a_mirror_that_is_cancelled_already_is_left_alone() -> None:
    facts = facts_of("shopify", "stripe", "erp", "nobody", "captured", "whole")
    facts = replace(facts, mirrors=(replace(facts.mirrors[0], cancelled_at=NOW),))
    steps = plan(facts, routing_of("shopify", "erp", "nobody"), "whole")
    assert [s.platform for s in commands(steps, CancelOrder)] == ["shopify"]
    assert commands(steps, Restock) == []


@pytest.mark.parametrize(
    ("_case", "shop", "mirror", "said"),
    [
        ("the shop would refuse", {"cancel_refusal": "it is on hold"}, {}, "shopify would not cancel"),
        ("the mirror would refuse", {}, {"cancel_refusal": "it is packed"}, "erp would not cancel"),
        ("the mirror shipped", {}, {"lines": (a_line("A", 2, shipped=1),)}, "have left already"),
    ],
)
def test_what_a_system_would_refuse_is_held_before_anything_is_touched(
    _case: str, shop: dict[str, object], mirror: dict[str, object], said: str
) -> None:
    facts = facts_of("shopify", "stripe", "erp", "nobody", "captured", "whole")
    facts = replace(
        facts,
        order=replace(facts.order, **shop),  # type: ignore[arg-type] # names of its fields
        mirrors=(replace(facts.mirrors[0], **mirror),),  # type: ignore[arg-type] # the same
    )
    decision = decide_case(facts, Wanted(), GENEROUS)
    assert (decision.verdict, said in decision.reason) == (Verdict.HOLD, True)
    assert plan_steps(CASE, facts, decision, routing_of("shopify", "erp", "nobody")) == []


def test_a_shop_without_a_call_for_parts_asks_a_person_first_and_then_pays() -> None:
    facts = facts_of("square", "itself", "itself", "nobody", "captured", "lines")
    steps = plan(facts, routing_of("square", "itself", "nobody"), "lines")
    (task,) = [s for s in steps if s.kind is StepKind.HUMAN_TASK]
    assert isinstance(task.command, HumanTask)
    assert task.command.text.startswith("Take out of order #1001 in square")
    assert "1 x sku-A" in task.command.text
    assert (NOW + timedelta(days=3)).date().isoformat() in task.command.text
    (refund,) = commands(steps, Refund)
    assert refund.needs == (task.step_key,)


def test_two_refunds_on_one_order_platform_go_one_after_the_other() -> None:
    order = replace(order_of("bigcommerce"))
    facts = Facts(
        NOW,
        order,
        (
            captured(1500, "card", platform="bigcommerce", gateway="card"),
            replace(captured(1000, "gift", platform="bigcommerce", gateway="gift"), tender=Tender.GIFT_CARD),
        ),
    )
    routing = replace(
        routing_of("bigcommerce", "nobody", "nobody"),
        payers=(("card", "bigcommerce"), ("gift", "bigcommerce")),
    )
    first, second = commands(plan(facts, routing, "whole"), Refund)
    assert (first.follows, second.follows) == ((), (first.step_key,))
    assert isinstance(first.command, Refund)
    assert isinstance(second.command, Refund)
    assert (bool(first.command.lines), bool(second.command.lines)) == (True, False)


def test_stock_is_put_back_after_the_owners_own_refund_which_may_have_done_it_already() -> None:
    facts = facts_of("square", "itself", "itself", "nobody", "captured", "whole")
    steps = plan(facts, routing_of("square", "itself", "nobody"), "whole")
    (refund,), (restock,) = commands(steps, Refund), commands(steps, Restock)
    assert (restock.follows, refund.step_key in restock.needs) == ((refund.step_key,), False)


# ------------------------------------------------------------------------------------------------ tenders and obstacles

CARD = captured(1500, "card", platform="stripe", gateway="stripe")
GIFT = replace(captured(2000, "gift", platform="shopify", gateway="gift_card"), tender=Tender.GIFT_CARD)
CREDIT = replace(captured(900, "credit", platform="shopify", gateway="credit"), tender=Tender.STORE_CREDIT)


def shares(payments: tuple[PaymentFacts, ...], due: int | None, policy: Policy = GENEROUS) -> list[object]:
    quoted = (LineQuantity("A", 1),) if due is not None else ()
    facts = Facts(
        NOW,
        order_of("shopify"),
        payments,
        quote=eur(due) if due is not None else None,
        quoted=quoted,
    )
    decision = decide_case(facts, Wanted(lines=quoted), policy, approved_by="grace")
    return [(s.reference, s.amount.minor, s.obstacle, s.fallback) for s in decision.shares]


def test_money_goes_back_by_means_of_payment_in_the_stated_order() -> None:
    assert shares((GIFT, CREDIT, CARD), 2000) == [("card", 1500, "", ""), ("credit", 500, "", "")]
    gift_first = replace(GENEROUS, tender_order=("gift_card", "card", "store_credit"))
    assert shares((CARD, GIFT, CREDIT), 2200, gift_first) == [("gift", 2000, "", ""), ("card", 200, "", "")]


def test_an_authorisation_is_released_before_anything_captured_is_given_back() -> None:
    open_card = authorised(800, "auth", platform="stripe")
    assert [x[0] for x in shares((CARD, open_card), None)] == ["auth", "card"]  # type: ignore[index]


OLD = replace(CARD, refundable_until=NOW - timedelta(days=1))
ALL_OR_NOTHING = replace(CARD, is_part_refundable=False)
REFUSED = replace(CARD, refund_refusal="the customer has no account for store credit")


@pytest.mark.parametrize(
    ("_case", "payments", "due", "policy", "expected"),
    [
        (
            "inside the window",
            (replace(CARD, refundable_until=NOW),),
            1000,
            "person",
            [("card", 1000, "", "")],
        ),
        (
            "another tender takes it",
            (OLD, GIFT),
            1000,
            "other_tender",
            [("gift", 1000, "", "")],
        ),
        (
            "and what no tender can take goes to a person",
            (OLD, CREDIT),
            1000,
            "other_tender",
            [("credit", 900, "", ""), ("card", 100, "its refund window ended on 2026-11-22", "person")],
        ),
        (
            "a person",
            (OLD, GIFT),
            1000,
            "person",
            [("card", 1000, "its refund window ended on 2026-11-22", "person")],
        ),
        (
            "a store credit",
            (OLD,),
            1000,
            "store_credit",
            [("card", 1000, "its refund window ended on 2026-11-22", "store_credit")],
        ),
        (
            "all or nothing, and a part is due",
            (ALL_OR_NOTHING,),
            1000,
            "person",
            [("card", 1000, "its payer gives back all that is left of it, or nothing", "person")],
        ),
        ("all or nothing, and all is due", (ALL_OR_NOTHING,), 1500, "person", [("card", 1500, "", "")]),
        (
            "its payer would refuse",
            (REFUSED,),
            1000,
            "other_tender",
            [("card", 1000, "the customer has no account for store credit", "person")],
        ),
    ],
)
def test_what_a_payment_cannot_give_back_is_known_beforehand_and_goes_where_policy_says(
    _case: str, payments: tuple[PaymentFacts, ...], due: int, policy: str, expected: list[object]
) -> None:
    assert shares(payments, due, replace(GENEROUS, on_unrefundable=policy)) == expected


def test_money_that_no_payer_can_return_is_a_task_with_instructions_deadline_and_proof() -> None:
    facts = Facts(NOW, order_of("shopify"), (OLD,))
    routing = replace(routing_of("shopify", "nobody", "nobody"), payers=(("stripe", "stripe"),))
    decision = decide_case(
        facts, Wanted(), replace(GENEROUS, on_unrefundable="store_credit"), approved_by="grace"
    )
    steps = plan_steps(CASE, facts, decision, routing)
    assert commands(steps, Refund, VoidPayment) == []
    (task,) = [s for s in steps if s.kind is StepKind.HUMAN_TASK]
    assert isinstance(task.command, HumanTask)
    assert task.amount == eur(1500)
    assert task.command.text == (
        "Give the customer a store credit of 15.00 EUR for order #1001 by another way: stripe cannot return it on payment card, "
        "because its refund window ended on 2026-11-22. Do it by 2026-11-26. Afterwards resolve this task with the refund's number "
        "as proof."
    )
    again = replace(Wanted(), underway=underway_of(in_state(steps, StepState.DEAD_LETTERED)))
    assert decide_case(facts, again, GENEROUS, approved_by="grace").shares == ()


def test_an_order_of_a_system_that_knows_no_payments_is_held_and_its_money_is_a_persons_task() -> None:
    order = replace(order_of("shopify"), platform="zoho-inventory", knows_payments=False)
    facts = Facts(NOW, order)
    routing = Routing(order_platform="zoho-inventory", stock_owner="zoho-inventory")
    decision = decide_case(facts, Wanted(), GENEROUS)
    assert (decision.verdict, "does not know how the order was paid" in decision.reason) == (
        Verdict.HOLD,
        True,
    )
    steps = plan(facts, routing, "whole")
    (task,) = [s for s in steps if s.kind is StepKind.HUMAN_TASK]
    assert isinstance(task.command, HumanTask)
    assert task.command.text.startswith(
        "Give back what was paid for order #1001: zoho-inventory does not know how."
    )
    assert task.needs == (commands(steps, CancelOrder)[0].step_key,)
    assert plan(facts, routing, "whole", in_state(steps, StepState.DEAD_LETTERED)) == []
