"""Six sources, twenty duplicates of each, fifty clients at once, about one order: one case, one cancel, one refund, and everybody is
told the same case.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import falcon.testing
import pytest

from refundflow.connectors.inventory_flags import sign
from refundflow.demo.practice import FLAG_KEY
from refundflow.domain.states import CaseState
from refundflow.ingest.app import create_app
from refundflow.sandbox import freshdesk, zendesk
from refundflow.settings import PortalSettings
from tests.integration.ingest.test_portal import Customer
from tests.support.drive import at_once, drive
from tests.support.practice import API_KEY, SECRETS, Shop

pytestmark = pytest.mark.integration

DUPLICATES: Final = 20
CLIENTS: Final = 50
DAY_S: Final = 86_400.0
ORDER: Final = "#1001"
EMAIL: Final = "ada@customers.example"

#: One request: path, headers, body.
Call = tuple[str, dict[str, str], bytes]


def from_api() -> list[Call]:
    headers = {
        "Authorization": f"Bearer {API_KEY}",
        "Idempotency-Key": "site-1",
        "Content-Type": "application/json",
    }
    return [("/v1/cancellations", headers, json.dumps({"order": ORDER}).encode())] * DUPLICATES


def from_stock(shop: Shop) -> list[Call]:
    body = json.dumps({"flag_id": "f-1", "flag": "unfulfilled", "order": ORDER}).encode()
    stamp = str(int(shop.context.now().timestamp()))
    signed = {"X-Refundflow-Signature": f"t={stamp},v1={sign(FLAG_KEY, stamp, body)}"}
    return [("/v1/inventory-flags", signed, body)] * DUPLICATES


def from_vendor(shop: Shop, vendor: str, topic: str, target: str) -> list[Call]:
    """Copies as the vendor itself signs and sends them."""
    before = len(shop.vendors.deliveries(vendor))
    described = {
        "vendor": vendor,
        "url": f"{shop.vendors.listener_url}/{vendor}",
        "secret": SECRETS[vendor],
        "events": [{"topic": topic, "object": target}],
        "copies": DUPLICATES,
    }
    shop.vendors.control("POST", "webhooks", described)
    sent = shop.vendors.deliveries(vendor)[before:]
    return [(f"/hooks/{vendor}", dict(d.headers), d.body) for d in sent]


def from_zendesk(shop: Shop) -> list[Call]:
    ticket = {
        "comment": "Please cancel my order.",
        "custom_fields": {str(zendesk.ORDER_FIELD): "1001"},
        "tags": [zendesk.TAG],
        "requester": {"name": "Ada", "email": EMAIL},
    }
    made = shop.vendors.control("POST", "seed", {"zendesk": {"tickets": [ticket]}})
    return from_vendor(shop, "zendesk", "conditional_ticket_events", str(made["zendesk"]["tickets"][0]))


def from_freshdesk(shop: Shop) -> list[Call]:
    ticket = {
        "subject": "Please cancel",
        "description": "<p>I do not need it.</p>",
        "email": EMAIL,
        "status": 2,
        "priority": 2,
        "tags": [freshdesk.CANCEL_TAG],
        "custom_fields": {"cf_order_ref": "1001"},
    }
    made = shop.vendors.control("POST", "seed", {"freshdesk": {"tickets": [ticket]}})
    target = str(made["freshdesk"]["tickets"][0]["id"])
    return from_vendor(shop, "freshdesk", freshdesk.CANCEL_EVENT, target)


def from_mail(shop: Shop) -> list[Call]:
    written = {
        "recipient": "cancel@mg.practice.example",
        "sender": EMAIL,
        "from": f"Ada <{EMAIL}>",
        "subject": f"Please cancel order {ORDER}",
        "body-plain": "I changed my mind.",
    }
    made = shop.settle("mailgun", inbound=written)[0]
    return from_vendor(shop, "mailgun", "inbound", str(made["inbound"]))


def test_six_sources_are_one_case_one_cancel_and_one_refund(shop: Shop) -> None:
    shop.order()
    settings = replace(shop.house.settings, portal=PortalSettings(tries_per_minute=1000))
    house = replace(shop.house, settings=settings, context=shop.context)
    client = falcon.testing.TestClient(create_app(house))
    customer = Customer(shop, client=client)
    customer.open()
    customer.send(what="whole")
    calls: list[Call | None] = [
        *from_api(),
        *from_stock(shop),
        *from_zendesk(shop),
        *from_freshdesk(shop),
        *from_mail(shop),
        *([None] * DUPLICATES),  # the customer sends the form again and again
    ]
    form = customer.hidden()
    assert len(calls) == 6 * DUPLICATES
    random.Random(6).shuffle(calls)

    def send(call: Call | None) -> tuple[str, int, dict[str, Any]]:
        if call is None:
            return "portal", customer.post(form).status_code, {}
        path, headers, body = call
        got = client.simulate_post(path, headers=headers, body=body)
        return path, got.status_code, got.json

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(send, calls))
    assert Counter((path, status) for path, status, _ in answers) == {
        ("/v1/cancellations", 202): DUPLICATES,
        ("/v1/inventory-flags", 200): DUPLICATES,
        ("/hooks/zendesk", 200): DUPLICATES,
        ("/hooks/freshdesk", 200): DUPLICATES,
        ("/hooks/mailgun", 200): DUPLICATES,
        ("portal", 303): DUPLICATES,
    }
    told = {path: {a["event_id"] for p, _, a in answers if p == path} for path in ("/v1/cancellations",)}
    assert len(told["/v1/cancellations"]) == 1, "every caller is given the same"

    events = [row["id"] for row in shop.rows("SELECT id FROM events ORDER BY id")]
    random.Random(7).shuffle(events)
    received = at_once(len(events), lambda number: shop.receive(events[number]))
    for each in received:
        drive(shop.context, each.wave, within_s=60)
    drive(shop.context, None, within_s=DAY_S)

    (case,) = shop.all_cases()
    assert shop.case(case["case_id"]).state is CaseState.COMPLETE
    sources = {row["source"] for row in shop.rows("SELECT source FROM case_sources")}
    assert sources == {"api", "inventory-flags", "zendesk", "freshdesk", "mailgun", "portal"}
    assert shop.money("stripe") == [(4250, "EUR")]
    assert len(shop.book("shopify", "cancel_order")) == 1
    about = {row["case_id"] for row in shop.rows("SELECT DISTINCT case_id FROM events")}
    assert about == {case["case_id"]}
    status = client.simulate_get(
        f"/v1/cancellations/{told['/v1/cancellations'].pop()}", headers={"Authorization": f"Bearer {API_KEY}"}
    )
    assert status.json["case_id"] == case["case_id"]
