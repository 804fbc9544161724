"""The customer's page: a signed link, one confirmed request, and progress that never says more than is true."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import falcon.testing
import pytest

from refundflow.demo.practice import PORTAL_KEY
from refundflow.domain.states import CaseState
from refundflow.ingest.app import create_app
from refundflow.settings import PortalSettings, Secret
from refundflow.transport.links import make_link
from tests.support.drive import drive
from tests.support.practice import Shop, line_of

pytestmark = pytest.mark.integration

KEY: Final = PORTAL_KEY
DAY_S: Final = 86_400.0


class Customer:
    """Somebody with a link and a browser without JavaScript: keeps cookies, follows forms as they stand on the page."""

    def __init__(
        self,
        shop: Shop,
        number: str = "#1001",
        *,
        tries: int = 20,
        life_s: float = 30 * DAY_S,
        changes: Mapping[str, str] | None = None,
        client: falcon.testing.TestClient | None = None,
    ) -> None:
        settings = replace(
            shop.house.settings,
            portal=PortalSettings(base_url="http://shop.example", tries_per_minute=tries),
        )
        house = replace(shop.house, settings=settings, context=shop.context)
        self.client = client or falcon.testing.TestClient(create_app(house))
        until = int(shop.context.now().timestamp() + life_s)
        link = make_link("http://shop.example", KEY.encode(), "shopify", number, until)
        self.query = dict(parse_qsl(urlsplit(link).query)) | dict(changes or {})
        self.cookies: dict[str, str] = {}
        self.status, self.text, self.headers = 0, "", dict[str, str]()

    def _keep(self, result: falcon.testing.Result) -> str:
        self.cookies |= {name: cookie.value for name, cookie in result.cookies.items()}
        self.status, self.text = result.status_code, unescape(result.text)
        self.headers = {name.lower(): value for name, value in result.headers.items()}
        return self.text

    def open(self, **more: str) -> str:
        query = urlencode(self.query | more)
        return self._keep(self.client.simulate_get("/portal", query_string=query, cookies=self.cookies))

    def send(self, **fields: str) -> str:
        """Sends the page's form: its hidden fields, with these filled in."""
        return self._keep(self.post({**self.hidden(), **fields}))

    def post(self, form: Mapping[str, str]) -> falcon.testing.Result:
        """One sending of a form, whatever the page shows."""
        return self.client.simulate_post(
            "/portal",
            query_string=urlencode(self.query),
            body=urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            cookies=self.cookies,
        )

    def hidden(self) -> dict[str, str]:
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', self.text))

    @property
    def headline(self) -> str:
        found = re.search(r"<h1>(.*?)</h1>", self.text)
        return found[1] if found else ""


def carried_out(shop: Shop) -> Any:
    """What the workers do with the newest event."""
    (newest,) = shop.rows("SELECT max(id) AS id FROM events")
    received = shop.receive(newest["id"])
    drive(shop.context, received.wave, within_s=DAY_S)
    return received


def test_a_whole_order_is_asked_for_confirmed_and_followed_to_the_end(shop: Shop) -> None:
    shop.order()
    customer = Customer(shop)
    page = customer.open()
    assert (customer.status, customer.headline) == (200, "Order #1001")
    assert "2 × 21.25 EUR" in page
    customer.send(what="whole", reason="customer")
    assert (customer.status, customer.headline) == (200, "Cancel order #1001?")
    assert shop.rows("SELECT id FROM events") == [], "nothing is asked before it is confirmed"
    customer.send()
    assert customer.status == 303
    assert customer.open() != ""
    assert customer.headline == "We are cancelling your order"
    assert customer.headers["refresh"] == "10"
    received = carried_out(shop)
    assert shop.case(received.case_id).state is CaseState.COMPLETE
    customer.open()
    assert customer.headline.startswith("Refunded: ")
    assert "refresh" not in customer.headers
    assert len(shop.money("stripe")) == 1


def test_a_part_is_asked_for_by_units(shop: Shop) -> None:
    shop.order(lines=[(3, 1000), (1, 2000)])
    customer = Customer(shop)
    customer.open()
    customer.send(what="part", **{f"units.{line_of('#1001', 1)}": "2"})
    assert customer.headline == "Cancel part of order #1001?"
    customer.send()
    received = carried_out(shop)
    assert shop.case(received.case_id).state is CaseState.COMPLETE
    assert shop.money("stripe") == [(2000, "EUR")]
    customer.open()
    assert customer.headline == "Refunded: 20.00 EUR"
    assert "Cancel more of this order" in customer.text


@pytest.mark.parametrize(
    ("_case", "fields", "problem"),
    [
        ("nothing chosen", {}, "Choose whether the whole order or only a part of it is to be cancelled."),
        ("no units", {"what": "part"}, "Enter how many of which article are to be cancelled."),
        ("both", {"what": "whole", "units": "1"}, "You entered a number and chose everything."),
        ("too many", {"what": "part", "units": "9"}, "enter a number from 0 to 2."),
        ("a negative number", {"what": "part", "units": "-1"}, "enter a number from 0 to 2."),
        ("no number", {"what": "part", "units": "two"}, "enter a number from 0 to 2."),
        ("an invented reason", {"what": "whole", "reason": "fraud"}, "Choose a reason."),
    ],
)
def test_a_form_that_cannot_be_meant_is_shown_again_with_what_is_wrong(
    shop: Shop, _case: str, fields: dict[str, str], problem: str
) -> None:
    shop.order(lines=[(2, 1000)])
    customer = Customer(shop)
    customer.open()
    units = fields.pop("units", None)
    named = {f"units.{line_of('#1001', 1)}": units} if units else {}
    page = customer.send(**fields, **named)
    assert customer.status == 422
    assert problem in page
    assert 'role="alert"' in page
    assert shop.rows("SELECT id FROM events") == []


def test_the_same_form_sent_twice_is_one_request(shop: Shop) -> None:
    shop.order()
    customer = Customer(shop)
    customer.open()
    customer.send(what="whole")
    form = customer.hidden()
    for _ in range(2):
        customer.send(**form)
        assert customer.status == 303
    assert len(shop.rows("SELECT id FROM events")) == 1


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("another order", {"order": "#1002"}),
        ("a later end", {"expires": "4000000000"}),
        ("no signature", {"signature": ""}),
        ("another platform", {"platform": "woocommerce"}),
    ],
)
def test_a_link_that_was_changed_opens_nothing(shop: Shop, _case: str, changes: dict[str, str]) -> None:
    shop.order()
    customer = Customer(shop, changes=changes)
    customer.open()
    assert (customer.status, customer.headline) == (403, "This link cannot be used")
    customer.send(what="whole", confirmed="yes")
    assert customer.status == 403
    assert shop.rows("SELECT id FROM events") == []
    assert shop.vendors.control("GET", "calls")["calls"] == [], "no shop was asked about it either"


def test_a_link_ends(shop: Shop) -> None:
    shop.order()
    customer = Customer(shop, life_s=3600)
    shop.clock.jump(3601)
    assert "too old" in customer.open()
    assert customer.status == 403


@pytest.mark.parametrize("_case", ["no cookie", "another's token", "another link's token"])
def test_a_form_that_another_site_sends_is_refused(shop: Shop, _case: str) -> None:
    shop.order()
    shop.order("#1002")
    customer = Customer(shop)
    customer.open()
    token = customer.hidden()["token"]
    if _case == "no cookie":
        customer.cookies.clear()
    elif _case == "another's token":
        token = "0" * 64
    else:
        other = Customer(shop, "#1002")
        other.cookies |= customer.cookies
        other.open()
        token = other.hidden()["token"]
    customer.send(what="whole", confirmed="yes", token=token)
    assert customer.status == 403
    assert shop.rows("SELECT id FROM events") == []


def test_too_many_tries_are_told_to_wait(shop: Shop) -> None:
    shop.order()
    customer = Customer(shop, tries=3)
    customer.open()
    statuses = []
    for _ in range(5):
        customer.open()
        customer.send(what="whole")
        statuses.append(customer.status)
    assert statuses == [200, 200, 200, 429, 429]
    assert customer.headers["retry-after"] == "60"


def test_what_the_browser_may_do_with_the_page_is_narrow(shop: Shop) -> None:
    shop.order()
    customer = Customer(shop)
    customer.open()
    assert customer.headers["cache-control"] == "no-store"
    assert customer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in customer.headers["content-security-policy"]
    assert "<script" not in customer.text
    assert "style=" not in customer.text


def test_a_shop_that_does_not_answer_is_said_and_nothing_is_lost(shop: Shop) -> None:
    shop.order()
    customer = Customer(shop)
    shop.fault("shopify", "*", "status", status=503, times=1)
    customer.open()
    assert (customer.status, customer.headline) == (503, "The shop does not answer")
    customer.open()
    assert customer.status == 200


def test_an_order_that_the_shop_does_not_know(shop: Shop) -> None:
    customer = Customer(shop, "#4711")
    customer.open()
    assert (customer.status, customer.headline) == (404, "The order was not found")


def test_without_a_key_there_is_no_page(shop: Shop) -> None:
    keyless = replace(shop.house.settings, portal_key=Secret(""))
    client = falcon.testing.TestClient(create_app(replace(shop.house, settings=keyless)))
    assert client.simulate_get("/portal").status_code == 404


# ------------------------------------------------------------------------------------------------ thirty histories

LOST: Final = {"kind": "lost_reply", "how": "reset"}
#: What happens to the refund's call (or another one), and after how many seconds the customer's bank is behind it.
TROUBLES: Final[Mapping[str, tuple[str, str, dict[str, Any]]]] = {
    "nothing": ("stripe", "create_refund", {}),
    "answer lost": ("stripe", "create_refund", LOST),
    "answer lost twice": ("stripe", "create_refund", {**LOST, "times": 2}),
    "request lost": ("stripe", "create_refund", {"kind": "lost_request", "how": "reset"}),
    "429": ("stripe", "create_refund", {"kind": "status", "status": 429, "times": 2}),
    "error after the act": (
        "stripe",
        "create_refund",
        {"kind": "status", "status": 500, "is_after_effect": True},
    ),
    "refused for good": ("stripe", "create_refund", {"kind": "refuse", "times": 20}),
    "pending": ("stripe", "create_refund", {"kind": "slow_pending"}),
    "failed late": ("stripe", "create_refund", {"kind": "late_failure"}),
    "the cancel is refused": ("shopify", "orderCancel", {"kind": "refuse", "times": 20}),
}
ORDERS: Final[Mapping[str, dict[str, Any]]] = {
    "whole": {},
    "two payments": {"payments": [("stripe", 1000, True), ("stripe", 2000, True)], "lines": [(3, 1000)]},
    "part": {"lines": [(3, 1000)]},
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("kind", ORDERS)
def test_the_page_never_says_refunded_before_the_money_is_settled(
    shop: Shop, kind: str, trouble: str
) -> None:
    shop.order(**ORDERS[kind])
    vendor, operation, fault = TROUBLES[trouble]
    if kind == "part" and operation == "orderCancel":
        operation = "refundCreate"
    if fault:
        shop.fault(vendor, operation, **fault)
    some: dict[str, Any] = {"lines": [{"line_id": line_of("#1001", 1), "quantity": 2}]}
    asked = shop.receive(shop.ask(**(some if kind == "part" else {})))
    customer = Customer(shop)
    seen: list[tuple[str, int]] = []

    def look() -> None:
        page = customer.open()
        assert customer.status == 200, page
        settled = sum(row["settled"] for row in shop.rows("SELECT settled FROM payments"))
        owed = sum(
            row["minor"]
            for row in shop.rows(
                "SELECT COALESCE(sum(amount_minor), 0) AS minor FROM steps WHERE action = 'refund' AND state <> 'skipped'"
            )
        )
        if "refunded" in page.lower():
            assert settled == owed > 0, (customer.headline, settled, owed)
            paid = sum(minor for minor, _ in shop.money("stripe"))
            assert paid == settled, "and the vendor's own book says so"
        seen.append((customer.headline, settled))

    look()
    wave = asked.wave
    for within_s in (0.0, 2.0, 10.0, 60.0, 600.0, 3600.0, DAY_S):
        drive(shop.context, wave, within_s=within_s)
        wave = None
        look()
        if within_s == 3600.0:
            shop.settle("stripe")  # what was marked as late fails now; nobody is told
            look()
    drive(shop.context, None, within_s=2 * DAY_S)
    look()
    is_refunded = trouble not in ("refused for good", "pending", "failed late", "the cancel is refused")
    assert seen[-1][0].startswith("Refunded: ") is is_refunded, seen
