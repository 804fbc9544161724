"""The scenes: what is in the practice world, what goes wrong there, which events come in, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from refundflow.demo.places import PlacedLine, PlacedOrder, PlacedPayment, place
from refundflow.sandbox.google_sheets import SHEET, SPREADSHEET_ID

Record = dict[str, Any]

SHOP_ITEMS: Final = (
    ("ACR-RED-60", "Acrylic 60 ml, cadmium red", 890),
    ("ACR-BLU-60", "Acrylic 60 ml, ultramarine", 890),
    ("ACR-WHT-250", "Acrylic 250 ml, titanium white", 1990),
    ("BRU-FLAT-12", "Flat brush, size 12", 640),
    ("CAN-40X50", "Canvas 40 x 50 cm", 1250),
    ("MED-GLOSS", "Gloss medium 120 ml", 1100),
)


@dataclass(frozen=True, slots=True)
class Line:
    """An order line. `item`: index into SHOP_ITEMS; `fulfilled`: units shipped already."""

    item: int
    quantity: int
    fulfilled: int = 0


@dataclass(frozen=True, slots=True)
class Payment:
    """How (part of) an order was paid. `via`: "stripe", "paypal", or "own" (the order platform's own payer); `minor`: None
    for the order's whole total.
    """

    via: str = "stripe"
    minor: int | None = None
    is_captured: bool = True


@dataclass(frozen=True, slots=True)
class Send:
    """One delivery through the front door. `how`: api | shopify | dispute | dashboard_refund | portal | mail | zendesk | freshdesk |
    flag | etsy (a person cancels there) | amazon (the buyer asks there). `copies`: how often the very
    same delivery comes; `lines`: line numbers and units for a partial request; `number`: another order number.
    """

    how: str = "api"
    copies: int = 1
    lines: tuple[tuple[int, int], ...] = ()
    reason: str = "customer"
    number: str = ""
    after_case: str = ""  # wait until the order's case is in this state before sending


@dataclass(frozen=True, slots=True)
class Scene:
    """One story. `state`: how its case must end; `refunded`: minor units that its payers' books must show as given back
    by us (None: the whole order); `dead`: dead letters that must be left; `platform`: where the order was placed;
    `mirrors`, `books`: where it is held and booked besides.
    """

    name: str
    title: str
    lines: tuple[Line, ...] = (Line(0, 2),)
    payments: tuple[Payment, ...] = (Payment(),)
    sends: tuple[Send, ...] = (Send(),)
    faults: tuple[Record, ...] = ()
    currency: str = "EUR"
    state: str = "complete"
    refunded: int | None = None
    dead: int = 0
    is_invoice_paid: bool = True
    approve: bool = False
    is_known: bool = True
    age_days: int = 1
    platform: str = "shopify"
    mirrors: tuple[str, ...] = ()
    books: str = "xero"

    @property
    def total(self) -> int:
        """Minor units of the whole order."""
        return sum(SHOP_ITEMS[line.item][2] * line.quantity for line in self.lines)


#: One scene per platform that joined Shopify, Stripe, Xero, Mailgun and Slack; `refundflow demo --platform NAME` plays one.
_ELSEWHERE: Final = (
    Scene(
        "woocommerce",
        "WooCommerce took the money and gives it back; QuickBooks gets a refund receipt",
        platform="woocommerce",
        payments=(Payment("own"),),
        books="quickbooks-commerce",
    ),
    Scene(
        "paypal",
        "some lines of a WooCommerce order that was paid with PayPal",
        platform="woocommerce",
        lines=(Line(0, 3), Line(4, 1)),
        payments=(Payment("paypal"),),
        sends=(Send(lines=((0, 2),)),),
        books="quickbooks-commerce",
        refunded=1780,
    ),
    Scene(
        "magento",
        "an invoiced Magento order: no cancel, a credit memo; PayPal pays, SAP holds stock and books",
        platform="magento",
        payments=(Payment("paypal"),),
        mirrors=("sap-business-one",),
        books="sap-business-one",
    ),
    Scene(
        "bigcommerce",
        "BigCommerce, paid through its gateway; Zoho holds the stock, its order goes too",
        platform="bigcommerce",
        lines=(Line(1, 2), Line(3, 1)),
        payments=(Payment("own"),),
        mirrors=("zoho-inventory",),
    ),
    Scene(
        "square",
        "a paid Square order, which Square cannot cancel: fenced, refunded, put back",
        platform="square",
        payments=(Payment("own"),),
    ),
    Scene(
        "etsy",
        "an Etsy order: a person cancels it there, and the task ends by itself",
        platform="etsy",
        payments=(Payment("own"),),
        books="",
        sends=(Send(), Send("etsy", after_case="attention")),
        refunded=0,
    ),
    Scene(
        "amazon",
        "the buyer asks at Amazon; one feed cancels, nothing was charged",
        platform="amazon",
        payments=(Payment("own", is_captured=False),),
        books="",
        sends=(Send("amazon"),),
        refunded=0,
    ),
)

#: One scene per way in which a request can come in, beside the shop's own site and the shops' webhooks.
_WAYS_IN: Final = (
    Scene(
        "portal",
        "the customer's page: a part of the order, confirmed",
        lines=(Line(0, 3), Line(4, 1)),
        sends=(Send("portal", lines=((0, 2),)),),
        refunded=1780,
    ),
    Scene(
        "mail",
        "an e-mail moves no money; the link in our answer does",
        sends=(Send("mail"), Send("portal", after_case="held")),
    ),
    Scene("zendesk", "an agent tags a Zendesk ticket", sends=(Send("zendesk", copies=2),)),
    Scene("freshdesk", "an agent tags a Freshdesk ticket", sends=(Send("freshdesk", copies=2),)),
    Scene("flag", "a stock system flags it as unfulfilled", sends=(Send("flag", copies=2),)),
)


def scenes() -> tuple[Scene, ...]:
    """The demo's scenes, in the order in which they are sent."""
    plain = [
        Scene(
            f"whole-{i}",
            "a whole order, cancelled and refunded",
            lines=(Line(i % 6, 1 + i % 3), Line((i + 2) % 6, 1)),
            currency=("EUR", "USD", "GBP")[i % 3],
        )
        for i in range(1, 9)
    ]
    partial = [
        Scene(
            f"partial-{i}",
            "some lines of an order",
            lines=(Line(0, 3), Line(4, 1)),
            sends=(Send(lines=((0, i),)),),
            refunded=890 * i,
        )
        for i in range(1, 4)
    ]
    return (
        *plain,
        *partial,
        Scene(
            "two-payments",
            "paid with two cards",
            lines=(Line(2, 3),),
            payments=(Payment(minor=4000), Payment(minor=1970)),
        ),
        Scene(
            "shop-pays",
            "Shopify took the money, so Shopify gives it back",
            payments=(Payment("own"),),
        ),
        Scene(
            "uncaptured",
            "authorised, never captured: released, not refunded",
            payments=(Payment(is_captured=False),),
            refunded=0,
            is_invoice_paid=False,
        ),
        Scene("twice", "the same request delivered three times", sends=(Send(copies=3),)),
        Scene(
            "two-sources",
            "the shop's site asks, and Shopify's own webhook reports it too",
            sends=(Send(), Send("shopify", copies=2)),
        ),
        Scene("admin-cancel", "a merchant cancelled it in Shopify", sends=(Send("shopify"),)),
        Scene(
            "widened",
            "first one line, then the whole order",
            lines=(Line(0, 2), Line(3, 1)),
            sends=(Send(lines=((0, 1),)), Send(reason="customer")),
        ),
        Scene(
            "throttled",
            "the payment provider answers 429 twice",
            faults=(
                {
                    "vendor": "stripe",
                    "operation": "create_refund",
                    "kind": "status",
                    "status": 429,
                    "times": 2,
                },
            ),
        ),
        Scene(
            "lost-reply",
            "the provider pays, and its answer never arrives",
            faults=(
                {
                    "vendor": "stripe",
                    "operation": "create_refund",
                    "kind": "lost_reply",
                    "how": "hang",
                    "hold_s": 8,
                },
            ),
        ),
        Scene(
            "reset",
            "the connection breaks before the provider acts",
            faults=(
                {"vendor": "stripe", "operation": "create_refund", "kind": "lost_request", "how": "reset"},
            ),
        ),
        Scene(
            "late-cancel",
            "Shopify cancels, and the answer is a bad gateway",
            faults=(
                {
                    "vendor": "shopify",
                    "operation": "orderCancel",
                    "kind": "status",
                    "status": 502,
                    "is_after_effect": True,
                },
            ),
        ),
        Scene(
            "refused",
            "the provider refuses the refund for good",
            faults=(
                {
                    "vendor": "stripe",
                    "operation": "create_refund",
                    "kind": "refuse",
                    "code": "charge_not_refundable",
                },
            ),
            state="attention",
            refunded=0,
            dead=1,
        ),
        Scene(
            "disputed",
            "the customer's bank took the money back first",
            sends=(Send("dispute"),),
            state="held",
            refunded=0,
        ),
        Scene(
            "dispute-meets-refund",
            "a dispute opens while the refund is being retried",
            faults=(
                {
                    "vendor": "stripe",
                    "operation": "create_refund",
                    "kind": "status",
                    "status": 429,
                    "headers": {"Retry-After": "12"},
                    "times": 1,
                },
            ),
            sends=(Send(), Send("dispute", after_case="retrying")),
            state="held",
            refunded=0,
        ),
        Scene(
            "big", "above the limit: a person approves", lines=(Line(2, 40),), state="complete", approve=True
        ),
        Scene(
            "shipped-part",
            "half of it was shipped: the rest is cancelled",
            lines=(Line(0, 2, fulfilled=1), Line(4, 2)),
            refunded=890 + 2500,
        ),
        Scene(
            "return-eligible",
            "all of it was shipped: a person confirms the return",
            lines=(Line(1, 1, fulfilled=1),),
            state="held",
            refunded=0,
        ),
        Scene("unknown", "an order number that nobody knows", state="attention", refunded=0, is_known=False),
        Scene(
            "mail-lost",
            "the mail server takes the mail, and its answer is lost",
            faults=({"vendor": "mailgun", "operation": "send_message", "kind": "latency", "latency_s": 2.0},),
        ),
        Scene(
            "by-hand",
            "staff refunded it in the provider's dashboard before we were asked",
            sends=(Send("dashboard_refund"), Send()),
            refunded=0,
        ),
        *_ELSEWHERE,
        *_WAYS_IN,
    )


#: Who tells the customer and the shop of orders of a platform, as `refundflow.toml` beside this file has it.
_TOLD: Final = {
    "woocommerce": ("sendgrid", "twilio", "zendesk", "trello", "notion", "google-sheets"),
    "magento": ("mailgun", "freshdesk"),
    "etsy": (),
    "amazon": (),
}


def scenes_of(platform: str) -> tuple[Scene, ...]:
    """The scenes in which a platform has a part. Raises LookupError that names the platforms there are."""
    parts = {
        scene.name: {
            scene.platform,
            scene.books,
            *scene.mirrors,
            *(scene.platform if p.via == "own" else p.via for p in scene.payments),
            *_TOLD.get(scene.platform, ("mailgun",)),
            *(send.how for send in scene.sends if send.how in ("zendesk", "freshdesk")),
            "slack",
        }
        for scene in scenes()
    }
    chosen = tuple(scene for scene in scenes() if platform in parts[scene.name])
    if not chosen:
        raise LookupError(
            f"no scene of '{platform}'; there are {', '.join(sorted(set().union(*parts.values())))}"
        )
    return chosen


@dataclass(slots=True)
class World:
    """Scenes placed into the practice vendors. `numbers`: a scene's order number by its name."""

    scenes: tuple[Scene, ...]
    first_number: int = 2001
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def placed(self, scene: Scene) -> PlacedOrder:
        """The scene's order as its vendors hold it."""
        return PlacedOrder(
            platform=scene.platform,
            serial=self.first_number + self.scenes.index(scene),
            lines=tuple(
                PlacedLine(
                    *SHOP_ITEMS[line.item][:2], line.quantity, SHOP_ITEMS[line.item][2], line.fulfilled
                )
                for line in scene.lines
            ),
            payments=tuple(
                PlacedPayment(p.via, scene.total if p.minor is None else p.minor, p.is_captured)
                for p in scene.payments
            ),
            mirrors=scene.mirrors,
            books=scene.books,
            currency=scene.currency,
            email=f"{scene.name}@customers.example",
            phone="+491701234567",
            is_booked_paid=scene.is_invoice_paid,
            is_stock_kept=not scene.mirrors,
            is_settled_at_once=True,
            created=self.now - timedelta(days=scene.age_days),
        )

    def number(self, scene: Scene) -> str:
        """The order number people see, `#2001`."""
        return self.placed(scene).number

    def order_id(self, scene: Scene) -> str:
        """The order's id at its platform, as the practice vendor's controls take it."""
        return self.placed(scene).order_id.rpartition("/")[2]

    def line_id(self, scene: Scene, line: int) -> str:
        return self.placed(scene).line_id(line)

    def payments(self, scene: Scene) -> Iterator[tuple[Payment, str, int]]:
        """Each payment with its provider reference and amount in minor units."""
        placed = self.placed(scene)
        for index, payment in enumerate(scene.payments):
            yield payment, placed.reference(index), placed.payments[index].minor

    def seed(self) -> dict[str, Record]:
        """What `POST /_sandbox/seed` takes for this world."""
        world = place(self.placed(scene) for scene in self.scenes if scene.is_known)
        # A blank log, so that its head is our own; and an Amazon that is quick to tell.
        sheet = {"id": SPREADSHEET_ID, "sheets": [{"title": SHEET, "rows": []}]}
        world["google-sheets"] = {"spreadsheets": [sheet]}
        world.setdefault("amazon", {})["habits"] = {"lists_lag_s": 0, "long_poll_most_s": 0}
        return world

    def faults(self) -> list[Record]:
        """The scenes' faults, each tied to its own order."""
        tied = []
        for scene in self.scenes:
            for fault in scene.faults:
                match fault["vendor"]:
                    case "stripe" | "paypal":
                        text = self.placed(scene).reference(0)[:-1]
                    case "mailgun":
                        text = f"{scene.name}%40"
                    case _:
                        text = self.order_id(scene)
                tied.append({**fault, "match": text})
        return tied
