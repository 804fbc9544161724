"""The customer's page in a real browser without JavaScript, on a telephone and on a screen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from refundflow.demo.practice import PORTAL_KEY
from refundflow.domain.states import CaseState
from refundflow.ingest.app import create_app
from refundflow.transport.links import make_link
from tests.support.browser import Browser, browsing
from tests.support.drive import drive
from tests.support.practice import Shop, line_of

pytestmark = pytest.mark.integration

DAY_S: Final = 86_400.0
PHONE: Final = (390, 844)
SCREEN: Final = (1280, 900)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@contextmanager
def served(shop: Shop) -> Iterator[str]:
    """The front door on a free port; its address."""
    app = create_app(replace(shop.house, context=shop.context))
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def link(shop: Shop, door: str) -> str:
    until = int(shop.context.now().timestamp() + 9 * DAY_S)
    return make_link(door, PORTAL_KEY.encode(), "shopify", "#1001", until)


def carry_out(shop: Shop) -> str:
    (newest,) = shop.rows("SELECT max(id) AS id FROM events")
    received = shop.receive(newest["id"])
    drive(shop.context, received.wave, within_s=DAY_S)
    return received.case_id


def held_in_the_window(browser: Browser, size: tuple[int, int]) -> None:
    assert browser.width_of_page() <= size[0], "nothing is wider than the window"


@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["telephone", "screen"])
def test_a_customer_cancels_a_part_and_sees_the_money_go(
    shop: Shop, tmp_path: Path, size: tuple[int, int]
) -> None:
    shop.order(lines=[(3, 1000), (1, 2000)])
    with served(shop) as door, browsing(tmp_path / "browser", size) as browser:
        address = link(shop, door)
        browser.open(address)
        held_in_the_window(browser, size)
        browser.screenshot(tmp_path / "form.png")
        names = browser.names()
        assert ("heading", "Order #1001") in names
        assert ("button", "Continue") in names
        fields = [name for role, name in names if role == "spinbutton"]
        assert len(fields) == 2
        assert all(name.startswith("How many of ") for name in fields), "each field says what it is for"
        assert browser.box("button")[3] >= 44, "a thumb can hit it"
        browser.click("input[value=part]")
        browser.type(f'input[name="units.{line_of("#1001", 1)}"]', "2")
        browser.click("button", loads=True)
        assert "Cancel part of order #1001?" in browser.html()
        held_in_the_window(browser, size)
        browser.screenshot(tmp_path / "review.png")
        assert shop.rows("SELECT id FROM events") == []
        browser.click("button.final", loads=True)
        assert "We are cancelling your order" in browser.html()
        browser.screenshot(tmp_path / "asked.png")
        case_id = carry_out(shop)
        assert shop.case(case_id).state is CaseState.COMPLETE
        browser.open(address)
        assert "Refunded: 20.00 EUR" in browser.html()
        held_in_the_window(browser, size)
        browser.screenshot(tmp_path / "done.png")
    assert shop.money("stripe") == [(2000, "EUR")]


def test_the_first_tab_stops_are_the_choices_in_their_order(shop: Shop, tmp_path: Path) -> None:
    shop.order()
    with served(shop) as door, browsing(tmp_path / "browser") as browser:
        browser.open(link(shop, door))
        browser.press_tab()
        tree = browser.call("Accessibility.getFullAXTree")["nodes"]
        focused = [
            n["role"]["value"]
            for n in tree
            for p in n.get("properties", [])
            if p["name"] == "focused" and p["value"].get("value") and n["role"]["value"] != "RootWebArea"
        ]
        assert focused == ["radio"]


def test_a_mistake_is_said_where_a_screen_reader_hears_it(shop: Shop, tmp_path: Path) -> None:
    shop.order()
    with served(shop) as door, browsing(tmp_path / "browser") as browser:
        browser.open(link(shop, door))
        browser.click("input[value=part]")
        browser.click("button", loads=True)
        assert ("alert", "") in browser.names()
        assert "Enter how many of which article are to be cancelled." in browser.html()
        browser.screenshot(tmp_path / "problem.png")
