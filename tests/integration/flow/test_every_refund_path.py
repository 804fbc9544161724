"""Every way in which money goes back, and every way in which it is written down, under every kind of trouble: exactly one effect
in the vendor's book. The flow is driven in this process, the practice vendors are another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from refundflow.connectors.square import SquareInbound
from refundflow.demo.places import PlacedLine, PlacedOrder, PlacedPayment
from refundflow.domain.inbound import Verified
from refundflow.domain.plan import Routing
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import SECOND_LOOKS
from refundflow.flow import people
from refundflow.flow.context import RefusedError
from refundflow.flow.poll import poll
from refundflow.store import polls
from refundflow.transport.http import RequestsWire
from refundflow.transport.pacing import LocalPacer
from refundflow.wiring import build_platforms
from tests.support.drive import drive
from tests.support.practice import LOCATION, SECRETS, Shop, share_time

pytestmark = pytest.mark.integration

LINES: Final = (PlacedLine("RED-60", "Acrylic red", 2, 890), PlacedLine("CANVAS", "Canvas", 1, 1250))
TOTAL: Final = 3030
DAY_S: Final = 86_400.0
WEEK_S: Final = 7 * DAY_S


@dataclass(frozen=True)
class Path:
    """One way. `vendor`, `operation`: the call that has the effect; `effect`: what the vendor's book calls it; `step`: our
    action; `routing`: how the shop is put together; the rest describes the order.
    """

    vendor: str
    operation: str
    effect: str
    step: str
    platform: str
    via: str = "own"
    routing: Routing = field(default_factory=Routing)
    mirrors: tuple[str, ...] = ()
    books: str = ""
    lines: tuple[tuple[int, int], ...] = ()

    @property
    def is_money(self) -> bool:
        return self.step == "refund"


def a_route(platform: str, **changes: Any) -> Routing:
    gateways = {
        "shopify": ("shopify_payments", "shopify"),
        "woocommerce": ("woocommerce_payments", "woocommerce"),
        "magento": ("braintree", "magento"),
        "bigcommerce": ("testgateway", "bigcommerce"),
        "square": ("square", "square"),
    }
    payers = (gateways[platform], ("stripe", "stripe"), ("paypal", "paypal"))
    plain = Routing(
        order_platform=platform,
        payers=payers,
        stock_owner=platform,
        stock_location=LOCATION if platform == "shopify" else "",
    )
    return replace(plain, **changes)


BOOKED: Final = {"refund_account_code": "35", "invoice_number": "INV-{number}"}
PATHS: Final[Mapping[str, Path]] = {
    "Shopify pays": Path(
        "shopify", "refundCreate", "refund", "refund", "shopify", routing=a_route("shopify")
    ),
    "WooCommerce pays": Path(
        "woocommerce", "create_refund", "refund", "refund", "woocommerce", routing=a_route("woocommerce")
    ),
    "Magento pays": Path(
        "magento", "refund_invoice", "refund", "refund", "magento", routing=a_route("magento")
    ),
    "BigCommerce pays": Path(
        "bigcommerce", "create_refund", "refund", "refund", "bigcommerce", routing=a_route("bigcommerce")
    ),
    "Square pays": Path("square", "create_refund", "refund", "refund", "square", routing=a_route("square")),
    "Stripe pays": Path(
        "stripe", "create_refund", "refund", "refund", "shopify", "stripe", routing=a_route("shopify")
    ),
    "PayPal pays": Path(
        "paypal", "refund_capture", "refund", "refund", "shopify", "paypal", routing=a_route("shopify")
    ),
    "WooCommerce writes down": Path(
        "woocommerce",
        "create_refund",
        "record_refund",
        "record_order_refund",
        "woocommerce",
        "stripe",
        routing=a_route("woocommerce"),
    ),
    "Magento writes down": Path(
        "magento",
        "refund_order",
        "record_refund",
        "record_order_refund",
        "magento",
        "paypal",
        routing=a_route("magento"),
    ),
    "BigCommerce writes down": Path(
        "bigcommerce",
        "create_refund",
        "record_refund",
        "record_order_refund",
        "bigcommerce",
        "stripe",
        routing=a_route("bigcommerce"),
    ),
    "QuickBooks books": Path(
        "quickbooks-commerce",
        "create_refund_receipt",
        "record_refund",
        "record_refund",
        "shopify",
        "stripe",
        routing=a_route("shopify", books="quickbooks-commerce", **BOOKED),
        books="quickbooks-commerce",
    ),
    "Zoho books": Path(
        "zoho-inventory",
        "create_refund",
        "record_refund",
        "record_refund",
        "shopify",
        "stripe",
        routing=a_route(
            "shopify",
            books="zoho-inventory",
            mirrors=("zoho-inventory",),
            **BOOKED | {"refund_account_code": "zoho"},
        ),
        mirrors=("zoho-inventory",),
        books="zoho-inventory",
    ),
    "SAP books": Path(
        "sap-business-one",
        "create_vendor_payment",
        "record_refund",
        "record_refund",
        "shopify",
        "stripe",
        routing=a_route(
            "shopify",
            books="sap-business-one",
            mirrors=("sap-business-one",),
            refund_account_code="161020",
            invoice_number="{number}",
        ),
        mirrors=("sap-business-one",),
        books="sap-business-one",
    ),
}
#: What can go wrong with the one call that has the effect, and after which nevertheless everything is carried out.
TROUBLE: Final[Mapping[str, Mapping[str, Any]]] = {
    "nothing": {},
    "the answer is lost": {"kind": "lost_reply", "how": "reset"},
    "the request is lost": {"kind": "lost_request", "how": "reset"},
    "429 twice": {"kind": "status", "status": 429, "headers": {"Retry-After": "3"}, "times": 2},
    "a bad gateway before the act": {"kind": "html", "status": 502},
    "a bad gateway after the act": {"kind": "html", "status": 502, "is_after_effect": True},
    "an error page with 200 after the act": {"kind": "html", "status": 200, "is_after_effect": True},
    "a server error after the act": {"kind": "status", "status": 500, "is_after_effect": True},
    "the answer is lost twice": {"kind": "lost_reply", "how": "reset", "times": 2},
}


#: Tried on every path always; the others in the campaign.
ALWAYS: Final = (
    "the answer is lost",
    "the request is lost",
    "429 twice",
    "a server error after the act",
)


def troubles() -> list[Any]:
    return [
        pytest.param(trouble, id=name, marks=[] if name in ALWAYS else [pytest.mark.campaign])
        for name, trouble in TROUBLE.items()
    ]


#: Shops that ask their gateway themselves, and roll their own record back when they break off.
UNPROVABLE: Final = ("woocommerce", "magento")
#: Trouble after which nobody can tell whether the call came through, and it did not.
SILENT: Final = (TROUBLE["the request is lost"], TROUBLE["a bad gateway before the act"])


@pytest.fixture(params=PATHS.values(), ids=PATHS.keys())
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def placed(shop: Shop, path: Path, serial: int = 2201) -> PlacedOrder:
    """The path's order at its vendors, and a shop that is put together for it."""
    share_time(shop)
    order = PlacedOrder(
        path.platform,
        serial,
        LINES,
        (PlacedPayment(path.via, TOTAL),),
        mirrors=path.mirrors,
        books=path.books,
    )
    shop.place(order)
    routing = path.routing
    if routing.refund_account_code == "zoho":
        from refundflow.sandbox.zoho_inventory import CLEARING_ACCOUNT_ID

        routing = replace(routing, refund_account_code=CLEARING_ACCOUNT_ID)
    shop.context = replace(shop.context, routing=replace(routing, customer_channel="mailgun"))
    return order


def effects(shop: Shop, path: Path) -> list[tuple[int, str]]:
    """What the vendor's book shows of the path's effect."""
    return shop.money(path.vendor, path.effect)


def money_out(shop: Shop) -> int:
    """What really went back to the customer, whoever paid it."""
    vendors = ("shopify", "woocommerce", "magento", "bigcommerce", "square", "stripe", "paypal")
    return sum(minor for vendor in vendors for minor, _ in shop.money(vendor, "refund"))


def cancel(shop: Shop, path: Path, order: PlacedOrder, **body: Any) -> Any:
    """Asks, and drives on for a week; what a payer holds back is settled in the middle."""
    received = shop.receive(shop.ask(order.number, platform=path.platform, **body))
    assert received.case_id, received
    for wave, within_s in ((received.wave, 60), (None, 1200), (None, WEEK_S)):
        drive(shop.context, wave, within_s=within_s)
        shop.settle_square()
    drive(shop.context, None, within_s=WEEK_S)
    return shop.case(received.case_id)


def within_a_day(shop: Shop, path: Path, order: PlacedOrder) -> Any:
    """Asks, and drives on for some hours: everything is done, and nothing was looked at a second time."""
    received = shop.receive(shop.ask(order.number, platform=path.platform))
    for wave, within_s in ((received.wave, 60), (None, 1200), (None, DAY_S / 6)):
        drive(shop.context, wave, within_s=within_s)
        shop.settle_square()
    drive(shop.context, None, within_s=DAY_S / 6)
    return shop.case(received.case_id)


def story(shop: Shop, case_id: str) -> str:
    return "\n".join(
        f"{s.step_key} {s.action} {s.platform} {s.state.value} {s.amount} {s.code} {s.reason}"
        for s in shop.steps(case_id).values()
    )


@pytest.mark.parametrize("trouble", troubles())
def test_whatever_happens_to_the_call_its_effect_is_there_once(
    shop: Shop, path: Path, trouble: Mapping[str, Any]
) -> None:
    order = placed(shop, path)
    if trouble:
        shop.fault(path.vendor, path.operation, **trouble)
    case = cancel(shop, path, order)
    if path.vendor in UNPROVABLE and path.is_money and trouble in SILENT:
        # Their gateway may have paid without leaving a record, so an absence proves nothing: a person looks there.
        assert effects(shop, path) == [], story(shop, case.case_id)
        assert case.state is CaseState.ATTENTION
        (refund,) = [s for s in shop.steps(case.case_id).values() if s.action == "refund"]
        assert (refund.state, refund.code) == (StepState.DEAD_LETTERED, "unknowable")
        assert shop.sums(refund.payment_id or "") == (TOTAL, TOTAL, 0), "the money stays reserved"
        with pytest.raises(RefusedError, match="say --happened or --never"):
            people.resolve(shop.context, refund.step_key, operator="grace", proof="looked")
        wave = people.resolve(
            shop.context,
            refund.step_key,
            operator="grace",
            proof="not at the gateway",
            happened=False,
        )
        drive(shop.context, wave, within_s=WEEK_S)
        assert effects(shop, path) == [(TOTAL, "EUR")], story(shop, case.case_id)
        assert shop.case(case.case_id).state is CaseState.COMPLETE, story(shop, case.case_id)
        return
    assert effects(shop, path) == [(TOTAL, "EUR")], story(shop, case.case_id)
    assert money_out(shop) == TOTAL
    assert case.state is CaseState.COMPLETE, story(shop, case.case_id)


def test_a_refusal_for_good_is_a_dead_letter_and_nothing_is_there(shop: Shop, path: Path) -> None:
    order = placed(shop, path)
    shop.fault(path.vendor, path.operation, "refuse", times=20)
    case = cancel(shop, path, order)
    assert effects(shop, path) == []
    assert money_out(shop) == (0 if path.is_money else TOTAL)
    assert case.state is CaseState.ATTENTION, story(shop, case.case_id)
    (dead,) = [s for s in shop.steps(case.case_id).values() if s.state is StepState.DEAD_LETTERED]
    assert dead.action == path.step
    assert dead.reason


def test_the_same_request_from_many_sides_has_one_effect(shop: Shop, path: Path) -> None:
    order = placed(shop, path)
    asked = [shop.receive(shop.ask(order.number, platform=path.platform, key=f"k{n}")) for n in range(4)]
    assert len({r.case_id for r in asked}) == 1
    for received in asked:
        drive(shop.context, received.wave, within_s=60)
    shop.settle_square()
    drive(shop.context, None, within_s=WEEK_S)
    assert effects(shop, path) == [(TOTAL, "EUR")]
    assert money_out(shop) == TOTAL


def test_a_case_that_is_planned_again_at_the_end_does_nothing_more(shop: Shop, path: Path) -> None:
    order = placed(shop, path)
    case = cancel(shop, path, order)
    before = {vendor: len(lines) for vendor, lines in shop.vendors.control("GET", "book").items()}
    _, wave = people.replan(shop.context, case.case_id, operator="grace", reason="to be sure")
    drive(shop.context, wave, within_s=WEEK_S)
    after = {vendor: len(lines) for vendor, lines in shop.vendors.control("GET", "book").items()}
    assert after == before, story(shop, case.case_id)


MONEY_WITHOUT_A_RECORD: Final = {
    "WooCommerce pays": {
        "kind": "status",
        "status": 500,
        "is_after_effect": True,
        "code": "money_only",
    },
    "Magento pays": {"kind": "refuse", "code": "could_not_refund"},
}


@pytest.mark.parametrize("name", MONEY_WITHOUT_A_RECORD)
def test_money_that_left_no_record_is_never_sent_twice_and_a_person_settles_it(shop: Shop, name: str) -> None:
    path = PATHS[name]
    order = placed(shop, path)
    shop.fault(path.vendor, path.operation, **MONEY_WITHOUT_A_RECORD[name])
    case = cancel(shop, path, order)
    (refund,) = [s for s in shop.steps(case.case_id).values() if s.action == "refund"]
    assert (refund.state, refund.code) == (StepState.DEAD_LETTERED, "unknowable"), story(shop, case.case_id)
    assert money_out(shop) == TOTAL
    wave = people.resolve(
        shop.context, refund.step_key, operator="grace", proof="gateway: tr_77", happened=True
    )
    drive(shop.context, wave, within_s=WEEK_S)
    assert money_out(shop) == TOTAL
    assert shop.sums(refund.payment_id or "") == (TOTAL, 0, TOTAL)
    assert shop.journal()["refunds"] == TOTAL
    assert shop.step(case.case_id, "refund.1").reference == "gateway: tr_77"


LATE: Final = {
    name: path
    for name, path in PATHS.items()
    if name in ("Stripe pays", "PayPal pays", "Square pays", "BigCommerce pays", "Shopify pays")
}


@pytest.mark.parametrize("path", LATE.values(), ids=LATE.keys())
def test_a_refund_that_fails_later_without_a_word_is_found_by_the_second_look(shop: Shop, path: Path) -> None:
    """The webhook about it got lost, so nothing but the look a day later tells."""
    order = placed(shop, path)
    shop.fault(path.vendor, path.operation, "late_failure")
    case = within_a_day(shop, path, order)
    (refund,) = [s for s in shop.steps(case.case_id).values() if s.action == "refund"]
    assert refund.state is StepState.SUCCEEDED, story(shop, case.case_id)
    if path.vendor == "square":
        shop.settle("square", refund=refund.reference, status="FAILED")
    else:
        shop.settle(path.vendor)
    drive(shop.context, None, within_s=2 * DAY_S)
    case = shop.case(case.case_id)
    assert case.state is CaseState.ATTENTION
    assert shop.step(case.case_id, "refund.1").state is StepState.REVERSED
    assert shop.mails()[-1] == f"Your refund for order {order.number} did not go through"
    assert shop.journal().get("refunds", 0) == 0
    assert effects(shop, path) == [(TOTAL, "EUR")], "nothing was sent again"


def test_a_refund_whose_failure_was_told_is_not_looked_at_any_more(shop: Shop) -> None:
    path = PATHS["Stripe pays"]
    order = placed(shop, path)
    shop.fault(path.vendor, path.operation, "late_failure")
    case = within_a_day(shop, path, order)
    refund = shop.step(case.case_id, "refund.1").reference
    shop.settle("stripe")
    take_in_all(shop, "stripe", "refund.failed", refund, copies=1)
    assert shop.step(case.case_id, "refund.1").state is StepState.REVERSED
    waiting = "SELECT step_key FROM steps WHERE look_again_at IS NOT NULL AND state <> 'succeeded'"
    assert shop.rows(waiting) == []


#: What a person, or time, does at the vendor to a paper that our step wrote, by path. The others' papers cannot be undone:
#: Magento's credit memos and BigCommerce's refunds are there for good.
UNDONE: Final[Mapping[str, Any]] = {
    "WooCommerce pays": lambda shop, step: shop.settle("woocommerce", refund=step.reference, deleted=True),
    "WooCommerce writes down": lambda shop, step: shop.settle(
        "woocommerce", refund=step.reference, deleted=True
    ),
    "QuickBooks books": lambda shop, step: shop.settle(
        "quickbooks-commerce", document=step.reference, deleted=True
    ),
    "Zoho books": lambda shop, step: shop.settle("zoho-inventory"),  # noqa: ARG005 (what was marked as late goes)
    "SAP books": lambda shop, step: shop.settle("sap-business-one"),  # noqa: ARG005 (as above)
}


@pytest.mark.parametrize("name", UNDONE)
def test_what_somebody_undoes_later_is_seen_and_a_person_says_whether_it_was_meant(
    shop: Shop, name: str
) -> None:
    path = PATHS[name]
    order = placed(shop, path)
    if path.vendor in ("zoho-inventory", "sap-business-one"):
        shop.fault(path.vendor, path.operation, "late_failure")
    case = within_a_day(shop, path, order)
    assert case.state is CaseState.COMPLETE, story(shop, case.case_id)
    (done,) = [s for s in shop.steps(case.case_id).values() if s.action == path.step]
    UNDONE[name](shop, done)
    calls = money_out(shop)
    drive(shop.context, None, within_s=2 * DAY_S)
    case = shop.case(case.case_id)
    assert case.state is CaseState.ATTENTION, story(shop, case.case_id)
    again = shop.step(case.case_id, done.step_key.removeprefix(f"{case.case_id}."))
    assert again.state is (StepState.SUCCEEDED if path.is_money else StepState.REVERSED)
    (task,) = [s for s in shop.steps(case.case_id).values() if s.action == "human_task"]
    assert done.reference in task.command.text, "the person is told which paper"  # type: ignore[union-attr] # a task's command
    assert money_out(shop) == calls == TOTAL, "nothing was paid again"
    assert len(effects(shop, path)) == 1
    people.resolve(shop.context, task.step_key, operator="grace", proof="it was on purpose")
    drive(shop.context, None, within_s=WEEK_S)
    assert shop.case(case.case_id).state is CaseState.COMPLETE, "and it is not asked a third time"


@pytest.mark.parametrize("name", sorted(set(PATHS) - set(UNDONE)))
def test_what_still_stands_is_confirmed_a_day_and_a_week_later(shop: Shop, name: str) -> None:
    path = PATHS[name]
    order = placed(shop, path)
    case = cancel(shop, path, order)
    looked = shop.rows(
        "SELECT step_key FROM audit WHERE event = 'step.confirmed' AND case_id = :id",
        id=case.case_id,
    )
    papers = [s for s in shop.steps(case.case_id).values() if s.action in SECOND_LOOKS]
    assert sorted(row["step_key"] for row in looked) == sorted([s.step_key for s in papers] * 2)
    assert case.state is CaseState.COMPLETE


# ------------------------------------------------------------------------------------------------ told by the vendors themselves

#: What each vendor sends about a refund that it made, and about which object. Magento, Zoho and SAP send nothing of the kind:
#: their news are polled, or are the flag that asks for the cancellation, and come three times below.
TOLD: Final = {
    "Shopify pays": ("refunds/create", "refund"),
    "WooCommerce pays": ("order.updated", "order"),
    "BigCommerce pays": ("store/order/refund/created", "order"),
    "Square pays": ("refund.updated", "refund"),
    "Stripe pays": ("refund.updated", "refund"),
    "PayPal pays": ("PAYMENT.CAPTURE.REFUNDED", "refund"),
    "QuickBooks books": ("qbo.refundreceipt.created.v1", "record"),
}


def take_in_all(shop: Shop, vendor: str, topic: str, target: str, copies: int) -> list[str]:
    """Signed deliveries of one event, verified as the front door does and handled; returns what became of each."""
    inbound = shop.context.platforms.inbound[vendor]
    url = f"{shop.vendors.listener_url}/{vendor}"
    if isinstance(inbound, SquareInbound):
        inbound = replace(inbound, notification_url=url)  # the address is part of what is signed
    before = len(shop.vendors.deliveries(vendor))
    events = [{"topic": topic, "object": target}]
    shop.vendors.control(
        "POST",
        "webhooks",
        {"vendor": vendor, "url": url, "secret": SECRETS[vendor], "events": events, "copies": copies},
    )
    outcomes = []
    for delivery in shop.vendors.deliveries(vendor)[before:]:
        verified = inbound.verify(delivery, shop.context.now())
        assert isinstance(verified, Verified), verified
        event_id = shop.insert(vendor, verified.source_event_id, verified.topic, delivery.body, True)
        received = shop.receive(event_id)
        outcomes.append(received.outcome)
        drive(shop.context, received.wave, within_s=60)
    return outcomes


@pytest.mark.parametrize("name", TOLD)
def test_a_vendor_that_tells_of_its_refund_three_times_changes_nothing(shop: Shop, name: str) -> None:
    path, (topic, about) = PATHS[name], TOLD[name]
    order = placed(shop, path)
    case = cancel(shop, path, order)
    assert case.state is CaseState.COMPLETE, story(shop, case.case_id)
    by_action = {s.action: s.reference for s in shop.steps(case.case_id).values()}
    target = {"refund": by_action["refund"], "record": by_action.get("record_refund", "")}.get(
        about, order.order_id
    )
    books = shop.vendors.control("GET", "book")
    steps = story(shop, case.case_id)
    outcomes = take_in_all(shop, path.vendor, topic, target, copies=3)
    drive(shop.context, None, within_s=WEEK_S)
    assert len(outcomes) == 3
    assert outcomes[1:] == ["already handled"] * 2 or outcomes[1:] == ["already ignored"] * 2, outcomes
    assert shop.vendors.control("GET", "book") == books
    assert story(shop, case.case_id) == steps
    assert [c["state"] for c in shop.all_cases()] == ["complete"]


POLLED: Final[Mapping[str, Path]] = {
    "Magento pays": PATHS["Magento pays"],
    "Magento writes down": PATHS["Magento writes down"],
    # SAP tells of the orders that it cancelled, which are those without an invoice.
    "SAP mirrors": replace(
        PATHS["SAP books"], routing=a_route("shopify", mirrors=("sap-business-one",)), books=""
    ),
}


@pytest.mark.parametrize("path", POLLED.values(), ids=POLLED.keys())
def test_what_polling_brings_three_times_changes_nothing(shop: Shop, path: Path) -> None:
    order = placed(shop, path)
    case = within_a_day(shop, path, order)
    assert case.state is CaseState.COMPLETE, story(shop, case.case_id)
    books, steps = shop.vendors.control("GET", "book"), story(shop, case.case_id)
    # A shop of these tests polls nothing by itself.
    polled = build_platforms(shop.house.settings, RequestsWire(LocalPacer())).pollers
    watching = replace(shop.context, platforms=replace(shop.context.platforms, pollers=polled))
    watching.db.run(lambda connection: polls.begin(connection, [path.vendor], now=shop.context.now()))
    told: list[int] = []
    for _ in range(3):
        # From the very beginning each time, as after a cursor that was lost.
        looked = poll(watching, path.vendor)
        assert looked.problem == ""
        told.append(len(looked.new))
        for event_id in looked.new:
            drive(shop.context, shop.receive(event_id).wave, within_s=60)
        shop.rows("UPDATE poll_cursors SET cursor = '' RETURNING platform")
    drive(shop.context, None, within_s=WEEK_S)
    assert told == [1, 0, 0]
    assert shop.vendors.control("GET", "book") == books
    assert story(shop, case.case_id) == steps
    assert [c["state"] for c in shop.all_cases()] == ["complete"]


def test_a_stock_flag_that_comes_three_times_is_one_case_and_one_effect(shop: Shop) -> None:
    path = PATHS["Zoho books"]
    order = placed(shop, path)
    outcomes = take_in_all(shop, "zoho-inventory", "salesorder.unfulfilled", f"SO-{order.serial}", copies=3)
    assert outcomes == ["opened", "already handled", "already handled"]
    drive(shop.context, None, within_s=WEEK_S)
    assert effects(shop, path) == [(TOTAL, "EUR")]
    assert money_out(shop) == TOTAL
    assert [c["state"] for c in shop.all_cases()] == ["complete"]
