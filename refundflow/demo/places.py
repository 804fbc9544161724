"""Where a practice order lives: one order, written down in the seed format of every practice vendor that holds a part of it.

An order is placed on one order platform, paid at payers, mirrored in systems that hold the same order, and booked. Each
`_at_…` function knows one vendor's format and no other; `place` puts together what one order needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from refundflow.domain.money import Money

Record = dict[str, Any]

#: The gateway's name under which each order platform knows its own payer, and the payers outside.
OWN_GATEWAY: Final = {
    "shopify": "shopify_payments",
    "woocommerce": "woocommerce_payments",
    "magento": "braintree",
    "bigcommerce": "testgateway",
    "square": "square",
}
STOCK: Final = 20
#: Where the practice shop keeps its stock at Shopify; `refundflow.toml` beside this file names it too.
LOCATION: Final = "7001"


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """One order line; `unit`: minor units, tax included; `shipped`: units that have left."""

    sku: str
    title: str
    quantity: int
    unit: int
    shipped: int = 0


@dataclass(frozen=True, slots=True)
class PlacedPayment:
    """One payment. `via`: the order platform's own payer ("own"), "stripe" or "paypal"; `minor`: minor units."""

    via: str
    minor: int
    is_captured: bool = True


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """`platform`: where it was placed; `serial`: a number of its own, from which all ids are made; `mirrors`, `books`: where
    it is held and booked besides; `is_booked_paid`: whether the books show the money as received; `is_stock_kept`: whether
    the order platform keeps the stock of its articles; `is_settled_at_once`: whether a payer that lets refunds wait for their
    money (Square) has it at hand.
    """

    platform: str
    serial: int
    lines: tuple[PlacedLine, ...]
    payments: tuple[PlacedPayment, ...]
    mirrors: tuple[str, ...] = ()
    books: str = ""
    currency: str = "EUR"
    email: str = "ada@customers.example"
    phone: str = ""
    is_booked_paid: bool = True
    is_stock_kept: bool = True
    is_settled_at_once: bool = False
    created: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=1))

    def article(self, line: PlacedLine) -> str:
        """As other systems call it. A shop on Square uses the catalogue's ids, because Square's orders know no other."""
        return f"V-{line.sku}" if self.platform == "square" else line.sku

    @property
    def total(self) -> int:
        return sum(line.quantity * line.unit for line in self.lines)

    @property
    def number(self) -> str:
        """As people call it on its platform."""
        match self.platform:
            case "shopify":
                return f"#{self.serial}"
            case "magento":
                return f"{self.serial:09d}"
            case "woocommerce":
                return f"WC-{self.serial}"
            case "amazon":
                return f"902-{self.serial:07d}-{self.serial:07d}"
            case _:
                return str(self.serial)

    @property
    def plain_number(self) -> str:
        """As other systems write it."""
        return self.number.lstrip("#")

    @property
    def order_id(self) -> str:
        """The platform's own id, as its connector gives it."""
        match self.platform:
            case "shopify":
                return f"gid://shopify/Order/{900_000 + self.serial}"
            case "square":
                return f"SQORDER{self.serial}"
            case "zoho-inventory":
                return f"48150000{self.serial:011d}"
            case "amazon":
                return self.number
            case _:
                return str(self.serial)

    def line_id(self, index: int) -> str:
        """The platform's own id of a line, as its connector gives it."""
        match self.platform:
            case "shopify":
                return f"gid://shopify/LineItem/{900_000 + self.serial}{index + 1:02d}"
            case "square":
                return f"LI{index + 1}"
            case "sap-business-one":
                return str(index)
            case _:
                return f"{self.serial}{index + 1:02d}"

    def reference(self, index: int) -> str:
        """The id of a payment at its payer."""
        match self.payments[index].via:
            case "stripe":
                return f"pi_placed{self.serial}x{index + 1}"
            case "paypal":
                return f"CAP{self.serial:012d}{index + 1:02d}"
            case _:
                return f"own{self.serial}x{index + 1}"

    def gateway(self, index: int) -> str:
        via = self.payments[index].via
        return OWN_GATEWAY.get(self.platform, self.platform) if via == "own" else via


def place(orders: Iterable[PlacedOrder]) -> dict[str, Record]:
    """What `POST /_sandbox/seed` takes for these orders, all vendors together."""
    world: dict[str, Record] = {}
    for order in orders:
        add(world, _AT[order.platform](order))
        for payer in ("stripe", "paypal"):
            if any(p.via == payer for p in order.payments):
                add(world, _AT_PAYER[payer](order))
        for slug in {*order.mirrors, order.books} - {"", order.platform}:
            add(world, _AT_BACK_OFFICE[slug](order))
    return world


def add(world: dict[str, Record], more: dict[str, Record]) -> None:
    """Lists are joined, everything else is laid over."""
    for vendor, described in more.items():
        held = world.setdefault(vendor, {})
        for name, value in described.items():
            if isinstance(value, list):
                held.setdefault(name, []).extend(x for x in value if x not in held[name])
            else:
                held[name] = value


# ------------------------------------------------------------------------------------------------ order platforms


def _at_shopify(order: PlacedOrder) -> dict[str, Record]:
    order_id = order.order_id.rpartition("/")[2]
    return {
        "shopify": {
            "locations": [{"id": LOCATION, "name": "Warehouse"}],
            "cancel_after_reads": 1,
            "cancel_within_s": 1.0,
            "orders": [
                {
                    "id": order_id,
                    "name": order.number,
                    "currency": order.currency,
                    "email": order.email,
                    "created_at": order.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "lines": [
                        {
                            "id": order.line_id(index).rpartition("/")[2],
                            "sku": line.sku,
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "fulfilled": line.shipped,
                            "available": STOCK,
                            "location": LOCATION,
                            "item": order.line_id(index).rpartition("/")[2],
                        }
                        for index, line in enumerate(order.lines)
                    ],
                    "transactions": [
                        {
                            "id": f"{order_id}{index + 1}",
                            "kind": "SALE" if payment.is_captured else "AUTHORIZATION",
                            "gateway": order.gateway(index),
                            "amount": payment.minor,
                            **_receipt(order, index),
                        }
                        for index, payment in enumerate(order.payments)
                    ],
                }
            ],
        }
    }


def _receipt(order: PlacedOrder, index: int) -> Record:
    """How Shopify knows the payer's id: Stripe's as the payment's, others' in the gateway's receipt."""
    match order.payments[index].via:
        case "stripe":
            return {"payment_id": order.reference(index)}
        case "own":
            return {}
        case _:
            return {"receipt": {"id": order.reference(index)}}


def _at_woocommerce(order: PlacedOrder) -> dict[str, Record]:
    payments = [
        {
            "gateway": order.gateway(index),
            "status": "captured" if payment.is_captured else "authorised",
            "transaction_id": order.reference(index),
            "amount_minor": payment.minor,
        }
        for index, payment in enumerate(order.payments)
    ]
    return {
        "woocommerce": {
            "orders": [
                {
                    "id": order.serial,
                    "number": order.number,
                    "currency": order.currency,
                    "created": order.created.isoformat(),
                    "email": order.email,
                    "phone": order.phone,
                    "lines": [
                        {
                            "id": int(order.line_id(index)),
                            "sku": line.sku,
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "shipped": line.shipped,
                            "stock": STOCK,
                            "manages_stock": order.is_stock_kept,
                        }
                        for index, line in enumerate(order.lines)
                    ],
                    "payments": payments or [{"status": "none"}],
                }
            ]
        }
    }


def _at_magento(order: PlacedOrder) -> dict[str, Record]:
    return {
        "magento": {
            "orders": [
                {
                    "id": order.serial,
                    "number": order.number,
                    "currency": order.currency,
                    "base_currency": order.currency,
                    "email": order.email,
                    "created_at": order.created.strftime("%Y-%m-%d %H:%M:%S"),
                    "lines": [
                        {
                            "id": int(order.line_id(index)),
                            "sku": line.sku,
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "shipped": line.shipped,
                            "stock": STOCK,
                        }
                        for index, line in enumerate(order.lines)
                    ],
                    "payments": [
                        {
                            "gateway": order.gateway(index),
                            "amount_minor": payment.minor,
                            "is_captured": payment.is_captured,
                            "transaction_id": order.reference(index),
                        }
                        for index, payment in enumerate(order.payments)
                    ],
                }
            ]
        }
    }


def _at_bigcommerce(order: PlacedOrder) -> dict[str, Record]:
    # A shop whose stock is kept elsewhere, or by nobody, has told BigCommerce to leave it alone.
    return {
        "bigcommerce": {
            "inventory": {"refund_order_stock_adjustment": order.is_stock_kept},
            "orders": [
                {
                    "id": order.serial,
                    "currency": order.currency,
                    "created": order.created.isoformat(),
                    "email": order.email,
                    "is_tax_inclusive": True,
                    "lines": [
                        {
                            "id": int(order.line_id(index)),
                            "sku": line.sku,
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "shipped": line.shipped,
                            "stock": STOCK,
                        }
                        for index, line in enumerate(order.lines)
                    ],
                    "payments": [
                        {
                            "gateway": order.gateway(index),
                            "amount_minor": payment.minor,
                            "is_captured": payment.is_captured,
                            "transaction_id": order.reference(index),
                        }
                        for index, payment in enumerate(order.payments)
                    ],
                }
            ],
        }
    }


def _at_square(order: PlacedOrder) -> dict[str, Record]:
    return {
        "square": {
            "settings": {"checks_occurred_at": False, "refunds_complete_at_once": order.is_settled_at_once},
            "orders": [
                {
                    "id": order.order_id,
                    "number": order.number,
                    "currency": order.currency,
                    "created_at": order.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "email": order.email,
                    "location_id": "L1",
                    "lines": [
                        {
                            "uid": order.line_id(index),
                            "sku": line.sku,
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "shipped": line.shipped,
                            "stock": STOCK,
                        }
                        for index, line in enumerate(order.lines)
                    ],
                    "payments": [
                        {
                            "id": order.reference(index),
                            "gateway": "CARD",
                            "amount_minor": payment.minor,
                            "is_captured": payment.is_captured,
                        }
                        for index, payment in enumerate(order.payments)
                    ],
                }
            ],
        }
    }


# ------------------------------------------------------------------------------------------------ payers


def _at_stripe(order: PlacedOrder) -> dict[str, Record]:
    return {
        "stripe": {
            "payment_intents": [
                {
                    "id": order.reference(index),
                    "amount": payment.minor,
                    "currency": order.currency.lower(),
                    "status": "succeeded" if payment.is_captured else "requires_capture",
                    "metadata": {"order": order.number},
                }
                for index, payment in enumerate(order.payments)
                if payment.via == "stripe"
            ]
        }
    }


def _at_paypal(order: PlacedOrder) -> dict[str, Record]:
    return {
        "paypal": {
            "balance_minor": {order.currency: 10_000_000},
            "orders": [
                {
                    "id": f"PPORDER{order.serial:08d}X{index + 1}",
                    "number": order.number,
                    "currency": order.currency,
                    "created": order.created.isoformat(),
                    "email": order.email,
                    "amount_minor": payment.minor,
                    "payments": [
                        {
                            "status": "COMPLETED" if payment.is_captured else "AUTHORISED",
                            "amount_minor": payment.minor,
                            ("capture_id" if payment.is_captured else "authorization_id"): order.reference(
                                index
                            ),
                        }
                    ],
                }
                for index, payment in enumerate(order.payments)
                if payment.via == "paypal"
            ],
        }
    }


# ------------------------------------------------------------------------------------------------ stock, ERP, books


def _at_zoho(order: PlacedOrder) -> dict[str, Record]:
    return {
        "zoho-inventory": {
            "orders": [
                {
                    "id": f"48150000{order.serial:011d}",
                    "number": f"SO-{order.serial}",
                    "reference": order.number,
                    "currency": order.currency,
                    "created": order.created.isoformat(),
                    "email": order.email,
                    "lines": [
                        {
                            "sku": order.article(line),
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "shipped": line.shipped,
                            "stock": 100,
                        }
                        for line in order.lines
                    ],
                    "payments": [
                        {
                            "amount_minor": p.minor,
                            "is_captured": p.is_captured,
                            "transaction": order.reference(i),
                        }
                        for i, p in enumerate(order.payments)
                        if order.is_booked_paid
                    ],
                    **(
                        {"invoice": {"number": f"INV-{order.plain_number}"}}
                        if order.books == "zoho-inventory"
                        else {}
                    ),
                }
            ]
        }
    }


def _at_sap(order: PlacedOrder) -> dict[str, Record]:
    return {
        "sap-business-one": {
            "orders": [
                {
                    "id": order.serial,
                    "doc_num": order.serial,
                    "number": order.plain_number,
                    "currency": order.currency,
                    "created": order.created.date().isoformat(),
                    "email": order.email,
                    "lines": [
                        {
                            "sku": order.article(line),
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_minor": line.unit,
                            "shipped": line.shipped,
                            "stock": 100,
                        }
                        for line in order.lines
                    ],
                    "is_invoiced": order.books == "sap-business-one",
                    "payments": [
                        {
                            "amount_minor": p.minor,
                            "is_captured": p.is_captured,
                            "reference": order.reference(i),
                        }
                        for i, p in enumerate(order.payments)
                        if order.is_booked_paid
                    ],
                }
            ]
        }
    }


def _at_xero(order: PlacedOrder) -> dict[str, Record]:
    return {
        "xero": {
            "contacts": [{"Name": "Ada Practice"}],
            "invoices": [
                {
                    "InvoiceNumber": f"INV-{order.plain_number}",
                    "Contact": {"Name": "Ada Practice"},
                    "CurrencyCode": order.currency,
                    "LineAmountTypes": "Inclusive",
                    "LineItems": [
                        {
                            "Description": line.title,
                            "Quantity": line.quantity,
                            "UnitAmount": Money(line.unit, order.currency).major,
                            "AccountCode": "200",
                            "TaxType": "OUTPUT",
                        }
                        for line in order.lines
                    ],
                    "Status": "PAID" if order.is_booked_paid else "AUTHORISED",
                }
            ],
        }
    }


def _at_quickbooks(order: PlacedOrder) -> dict[str, Record]:
    return {
        "quickbooks-commerce": {
            "settings": {"home_currency": "EUR"},
            "sales_receipts": [
                {
                    "number": f"INV-{order.plain_number}",
                    "email": order.email,
                    "currency": order.currency,
                    "date": order.created.date().isoformat(),
                    "lines": [
                        {
                            "sku": order.article(line),
                            "title": line.title,
                            "quantity": line.quantity,
                            "unit_price_minor": line.unit,
                        }
                        for line in order.lines
                    ],
                    "payments": [
                        {
                            "amount_minor": p.minor,
                            "transaction": order.reference(i),
                            "is_captured": p.is_captured,
                        }
                        for i, p in enumerate(order.payments)
                    ],
                }
            ],
        }
    }


def _at_etsy(order: PlacedOrder) -> dict[str, Record]:
    lines = [
        {
            "id": int(order.line_id(index)),
            "sku": line.sku,
            "title": line.title,
            "quantity": line.quantity,
            "unit_minor": line.unit,
        }
        for index, line in enumerate(order.lines)
    ]
    return {"etsy": {"receipts": [{"id": order.serial, "currency": order.currency, "lines": lines}]}}


def _at_amazon(order: PlacedOrder) -> dict[str, Record]:
    items = [
        {
            "sku": line.sku,
            "quantity": line.quantity,
            "unit_price": f"{line.unit // 100}.{line.unit % 100:02d}",
        }
        for line in order.lines
    ]
    return {"amazon": {"orders": [{"id": order.number, "items": items}]}}


_Placer = Callable[[PlacedOrder], dict[str, Record]]
_AT_BACK_OFFICE: Final[dict[str, _Placer]] = {
    "zoho-inventory": _at_zoho,
    "sap-business-one": _at_sap,
    "xero": _at_xero,
    "quickbooks-commerce": _at_quickbooks,
}
_AT: Final[dict[str, _Placer]] = {
    "shopify": _at_shopify,
    "woocommerce": _at_woocommerce,
    "magento": _at_magento,
    "bigcommerce": _at_bigcommerce,
    "square": _at_square,
    "zoho-inventory": _at_zoho,
    "sap-business-one": _at_sap,
    "etsy": _at_etsy,
    "amazon": _at_amazon,
}
_AT_PAYER: Final[dict[str, _Placer]] = {"stripe": _at_stripe, "paypal": _at_paypal}
