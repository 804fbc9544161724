"""One WSGI application for all practice vendors, each under its own prefix, and the controls under `/_sandbox/`.

The controls, all JSON:
`GET /_sandbox/health` · `GET /_sandbox/book[/{vendor}][?effect=…]` · `GET /_sandbox/calls[?vendor=…&operation=…]` ·
`GET|POST|DELETE /_sandbox/faults` (one fault or a list) · `PUT /_sandbox/clock` (`{"ahead_s"}`: the vendors' time runs ahead) · `POST /_sandbox/reset` (`{"vendor"?}`) ·
`POST /_sandbox/seed` (`{vendor: {…}}`) · `POST /_sandbox/settle` (`{"vendor", …}`; the vendor alone: its late failures) ·
`PUT /_sandbox/subscriptions` (`{vendor: {"url", "secret", …} | null}`) · `GET /_sandbox/deliveries` ·
`POST /_sandbox/webhooks` (`{"vendor", "url", "secret", "events": [{"topic", "object"}], "copies"?, "delay_s"?, "order"?}`:
order is as_given, reversed or shuffled; copies of an event keep its id).
What the controls cannot do is answered 400 or 404 with `{"problem": …}`.

`ConnectionCutError` leaves the application where a caller shall get no answer and there is no socket to cut (in a test).
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import falcon

from refundflow.sandbox.amazon import Amazon
from refundflow.sandbox.base import (
    Answer,
    Call,
    Cut,
    Event,
    Fault,
    How,
    NoSuchObjectError,
    Record,
    Subscription,
    Vendor,
    World,
)
from refundflow.sandbox.bigcommerce import BigCommerce
from refundflow.sandbox.etsy import Etsy
from refundflow.sandbox.freshdesk import Freshdesk
from refundflow.sandbox.google_sheets import GoogleSheets
from refundflow.sandbox.magento import Magento
from refundflow.sandbox.mailgun import Mailgun
from refundflow.sandbox.notion import Notion
from refundflow.sandbox.paypal import PayPal
from refundflow.sandbox.quickbooks_commerce import QuickBooksCommerce
from refundflow.sandbox.sap_business_one import SapBusinessOne
from refundflow.sandbox.sendgrid import SendGrid
from refundflow.sandbox.shopify import Shopify
from refundflow.sandbox.slack import Slack
from refundflow.sandbox.square import Square
from refundflow.sandbox.stripe import Stripe
from refundflow.sandbox.trello import Trello
from refundflow.sandbox.twilio import Twilio
from refundflow.sandbox.woocommerce import WooCommerce
from refundflow.sandbox.xero import Xero
from refundflow.sandbox.zendesk import Zendesk
from refundflow.sandbox.zoho_inventory import ZohoInventory

VENDORS: Final[tuple[type[Vendor], ...]] = (
    *(Shopify, WooCommerce, Magento, BigCommerce, Square),
    *(Stripe, PayPal),
    *(Xero, QuickBooksCommerce, ZohoInventory, SapBusinessOne),
    *(Etsy, Amazon),
    *(Mailgun, SendGrid, Twilio),
    *(Slack, Zendesk, Freshdesk, Trello, Notion, GoogleSheets),
)


class ConnectionCutError(ConnectionError):
    """The answer that never came, where no real connection exists: `how` and `hold_s` say how it would have ended."""

    def __init__(self, how: How, hold_s: float) -> None:
        super().__init__(how, hold_s)
        self.how = how
        self.hold_s = hold_s


def create_app(world: World) -> falcon.App[falcon.Request, falcon.Response]:
    """The application over a world; several worlds may have one each."""
    app = falcon.App()
    for name in world.vendors:
        app.add_sink(_Door(world, name), prefix=f"/{name}(?=/|$)")
    controls: dict[str, object] = {
        "/_sandbox/health": _Health(world),
        "/_sandbox/book": _Books(world),
        "/_sandbox/book/{vendor}": _Books(world),
        "/_sandbox/calls": _Calls(world),
        "/_sandbox/faults": _Faults(world),
        "/_sandbox/clock": _Clock(world),
        "/_sandbox/reset": _Reset(world),
        "/_sandbox/seed": _Seed(world),
        "/_sandbox/settle": _Settle(world),
        "/_sandbox/subscriptions": _Subscriptions(world),
        "/_sandbox/deliveries": _Deliveries(world),
        "/_sandbox/webhooks": _Webhooks(world),
    }
    for path, control in controls.items():
        app.add_route(path, control)
    for error in (ValueError, TypeError, LookupError, ConnectionCutError):
        app.add_error_handler(error, _explain)
    return app


class _Door:
    """Where a vendor's callers come in."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def __call__(self, req: falcon.Request, resp: falcon.Response, **_: Any) -> None:
        call = Call(
            method=req.method,
            path=req.path.removeprefix(f"/{self._name}") or "/",
            query=req.query_string,
            headers={name.lower(): value for name, value in req.headers.items()},
            body=req.bounded_stream.read(),
        )
        match self._world.receive(self._name, call):
            case Cut() as cut:
                self._cut(req, cut)
            case Answer() as answer:
                resp.status = answer.status
                resp.data = answer.payload
                if answer.payload:
                    resp.content_type = answer.content_type
                for name, value in answer.headers.items():
                    if name.lower() == "set-cookie":
                        resp.append_header(
                            name, value
                        )  # one header a cookie: joined they could not be told apart
                    else:
                        resp.set_header(name, value)

    def _cut(self, req: falcon.Request, cut: Cut) -> None:
        connection: socket.socket | None = req.env.get("gunicorn.socket")
        if connection is None:
            raise ConnectionCutError(cut.how, cut.hold_s)
        if cut.how is How.HANG:
            self._world.stopping.wait(cut.hold_s)
        with contextlib.suppress(OSError):  # the caller may have hung up first
            connection.shutdown(socket.SHUT_RDWR)


@dataclasses.dataclass(frozen=True, slots=True)
class _Control:
    world: World


class _Health(_Control):
    def on_get(self, _: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {"vendors": sorted(self.world.vendors)}


class _Books(_Control):
    def on_get(self, req: falcon.Request, resp: falcon.Response, vendor: str | None = None) -> None:
        effect = req.get_param("effect")
        names = [vendor] if vendor else list(self.world.vendors)
        books = {name: self.world.vendor(name).book.lines(effect) for name in names}
        resp.media = books[vendor] if vendor else books


class _Calls(_Control):
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        wanted = {"vendor": req.get_param("vendor"), "operation": req.get_param("operation")}
        calls = [
            line
            for line in list(self.world.calls)
            if all(value in (None, line[name]) for name, value in wanted.items())
        ]
        counts = [
            {"vendor": vendor, "operation": operation, "status": status, "count": count}
            for (vendor, operation, status), count in sorted(dict(self.world.counts).items())
            if wanted["vendor"] in (None, vendor) and wanted["operation"] in (None, operation)
        ]
        resp.media = {"calls": calls, "counts": counts}


class _Faults(_Control):
    def on_get(self, _: falcon.Request, resp: falcon.Response) -> None:
        resp.media = [dataclasses.asdict(fault) for fault in self.world.faults.waiting()]

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = req.media if isinstance(req.media, list) else [req.media]
        # All are read before one is added: a mistake in the third leaves nothing behind.
        faults = [Fault.read(each) for each in asked]
        for fault in faults:
            if fault.vendor != "*":
                self.world.vendor(fault.vendor)
        for fault in faults:
            self.world.faults.add(fault)
        resp.status = 201
        resp.media = {"added": len(faults), "waiting": len(self.world.faults.waiting())}

    def on_delete(self, _: falcon.Request, resp: falcon.Response) -> None:
        self.world.faults.clear()
        resp.media = {"waiting": 0}


class _Clock(_Control):
    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        ahead_s = _asked(req).get("ahead_s")
        if isinstance(ahead_s, bool) or not isinstance(ahead_s, int | float) or ahead_s < 0:
            raise ValueError("ahead_s is a number of seconds from 0 on")
        self.world.ahead = timedelta(seconds=ahead_s)
        resp.media = {"now": self.world.clock().isoformat()}


class _Reset(_Control):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.world.reset(_asked(req).get("vendor"))
        resp.media = {"reset": True}


class _Seed(_Control):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.status = 201
        resp.media = self.world.seed(_asked(req))


class _Settle(_Control):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = _asked(req)
        resp.media = self.world.settle(
            _text(asked, "vendor"), {k: v for k, v in asked.items() if k != "vendor"}
        )


class _Subscriptions(_Control):
    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        subscribe(self.world, _asked(req))
        resp.media = {"subscribed": sorted(name for name, described in _asked(req).items() if described)}


class _Deliveries(_Control):
    def on_get(self, _: falcon.Request, resp: falcon.Response) -> None:
        resp.media = list(self.world.webhooks.log)


class _Webhooks(_Control):
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        asked = _asked(req)
        vendor = self.world.vendor(_text(asked, "vendor"))
        url, secret = _text(asked, "url"), _text(asked, "secret")
        with vendor.lock:
            events = [
                vendor.event_for(_text(each, "topic"), str(each["object"]))
                for each in asked.get("events", [])
            ]
        sending = _ordered(events, int(asked.get("copies", 1)), str(asked.get("order", "as_given")))
        sent = []
        for event in sending:
            self.world.stopping.wait(float(asked.get("delay_s", 0)))
            status = self.world.webhooks.send_now(vendor.name, event, url, secret)
            sent.append({"event_id": event.id, "topic": event.topic, "status": status})
        resp.media = {"sent": sent}


def subscribe(world: World, described: Mapping[str, Any]) -> None:
    """Sets where vendors send their own events: `{vendor: {"url", "secret", …}}`; None ends a subscription.

    Raises ValueError for what a subscription does not have, NoSuchObjectError for an unknown vendor; then nothing was set.
    """
    known = {each.name for each in dataclasses.fields(Subscription)}
    read: dict[str, Subscription | None] = {}
    for name, each in described.items():
        world.vendor(name)
        if each is None:
            read[name] = None
            continue
        if not isinstance(each, dict) or not {"url", "secret"} <= set(each) <= known:
            raise ValueError(f"a subscription has url and secret, and may have {', '.join(sorted(known))}")
        settings: Record = {
            key: tuple(value) if isinstance(value, list) else value for key, value in each.items()
        }
        read[name] = Subscription(**settings)
    for name, subscription in read.items():
        world.webhooks.subscribe(name, subscription)


def _ordered(events: list[Event], copies: int, order: str) -> list[Event]:
    sending = [event for event in events for _ in range(copies)]
    match order:
        case "as_given":
            return sending
        case "reversed":
            return sending[::-1]
        case "shuffled":
            return random.sample(sending, len(sending))
        case _:
            raise ValueError(f"an order is as_given, reversed or shuffled, not {order!r}")


def _asked(req: falcon.Request) -> Record:
    asked = req.get_media(default_when_empty={})
    if not isinstance(asked, dict):
        raise ValueError("the controls take a JSON object")
    return asked


def _text(asked: Mapping[str, Any], name: str) -> str:
    if not isinstance(asked.get(name), str):
        raise ValueError(f"{name} is missing, or is not a text")
    return str(asked[name])


def _explain(req: falcon.Request, resp: falcon.Response, error: Exception, _: Mapping[str, Any]) -> None:
    """Answers mistakes made at the controls; whatever a vendor's door raises is a bug of ours and goes on its way."""
    if not req.path.startswith("/_sandbox/") or isinstance(error, ConnectionCutError):
        raise error
    resp.status = 404 if isinstance(error, NoSuchObjectError) else 400
    resp.media = {"problem": f"{type(error).__name__}: {error}"}
