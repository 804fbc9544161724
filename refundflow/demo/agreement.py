"""Agreement: the vendors' books beside ours, line by line. They must say the same, or the demo fails.

The vendors' books are what really happened; our rows are what we say happened. Every refund in a payer's book that carries
our reference must be one succeeded step with the same amount, and the other way round; the same for cancels, restocked
units, notes and payments in the books, and messages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from refundflow.domain.money import Money
from refundflow.store.db import rows

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `theirs` and `ours`: what each side says, ready to print; equal when they agree."""

    what: str
    theirs: str
    ours: str
    differences: tuple[str, ...]

    @property
    def is_agreed(self) -> bool:
        return not self.differences


#: What each further vendor's book calls the effects, and which of our actions they answer to.
_MONEY: Final = (
    ("refunds at {}", "refund", ("refund",)),
    ("refunds written down in {}", "record_refund", ("record_order_refund", "record_refund")),
    ("credit notes in {}", "credit_note", ("credit_note",)),
)
_LABELS: Final = {
    "woocommerce": "WooCommerce",
    "magento": "Magento",
    "bigcommerce": "BigCommerce",
    "square": "Square",
    "paypal": "PayPal",
    "quickbooks-commerce": "QuickBooks",
    "zoho-inventory": "Zoho",
    "sap-business-one": "SAP",
}
_STEP_KEY: Final = re.compile(r"RF-[0-9A-HJKMNP-TV-Z]{15}\.[a-z_]+\.\d+")


def compare(connection: Connection, books: Mapping[str, Iterable[Line]]) -> list[Row]:
    """Every kind of effect, theirs against ours. `books`: as `GET /_sandbox/book` gives them, lines by vendor."""
    steps = rows(
        connection,
        "SELECT s.step_key, s.kind, s.action, s.platform, s.state, s.code, s.amount_minor, s.currency, s.reference, s.command"
        " FROM steps s WHERE s.state IN ('succeeded', 'reversed') ORDER BY s.step_key",
    )
    return [
        _money(
            "refunds at Stripe",
            _by_reference(books, "stripe", "refund", _stripe_reference),
            steps,
            "stripe",
            ("refund",),
        ),
        _money(
            "refunds at Shopify",
            _by_reference(books, "shopify", "refund", _note),
            steps,
            "shopify",
            ("refund",),
        ),
        _count(
            "authorisations released", _keys(books, "stripe", "void"), _ours(steps, "stripe", "void_payment")
        ),
        _once(
            "orders cancelled",
            [_note(x) for x in books.get("shopify", ()) if x["effect"] == "cancel_order" and _is_ours(x)],
            _ours(steps, "shopify", "cancel_order"),
        ),
        _once(
            "lines cancelled",
            [_note(x) for x in books.get("shopify", ()) if x["effect"] == "record_refund" and _is_ours(x)],
            _ours(steps, "shopify", "cancel_lines"),
        ),
        _count(
            "lines put back in stock",
            [x["id"] for x in books.get("shopify", ()) if x["effect"] == "restock" and _is_ours(x)],
            [line["line_id"] for s in _restocks(steps, "shopify") for line in s["command"]["lines"]],
        ),
        _money(
            "refunds in Xero",
            _by_reference(books, "xero", "record_refund", _first_word),
            steps,
            "xero",
            ("record_refund",),
        ),
        _money(
            "credit notes in Xero",
            _by_reference(books, "xero", "create_credit_note", _text),
            steps,
            "xero",
            ("credit_note",),
        ),
        *(row for vendor in _LABELS for row in _elsewhere(vendor, books, steps)),
        _once(
            "mails sent",
            [str(x["reference"]) for x in books.get("mailgun", ()) if x["effect"] == "send_message"],
            _ours(steps, "mailgun", "send_message"),
        ),
        _once(
            "Slack messages",
            [_op(x) for x in books.get("slack", ()) if x["effect"] in ("post_message", "update_message")],
            _ours(steps, "slack", "send_message"),
        ),
        *_telling(books, steps),
        _journal(connection, steps),
    ]


#: What each tool calls the making of a case's one record.
_RECORDS: Final = {
    "trello": ("Trello cards", "create_card"),
    "notion": ("Notion rows", "create_page"),
    "google-sheets": ("Google Sheets rows", "add_row"),
}


def _telling(books: Mapping[str, Iterable[Line]], steps: Iterable[Line]) -> list[Row]:
    """Mails and texts of the other carriers, each once; and one record a case in each log that is kept."""
    steps = list(steps)
    found = []
    for vendor, what in (("sendgrid", "mails sent by SendGrid"), ("twilio", "texts sent by Twilio")):
        theirs = [str(x["reference"]) for x in books.get(vendor, ()) if x["effect"] == "send_message"]
        if ours := _ours(steps, vendor, "send_message"):
            found.append(_once(what, theirs, ours))
    for vendor, (what, effect) in _RECORDS.items():
        cases = {s["step_key"].partition(".")[0] for s in steps if s["platform"] == vendor}
        # A table that was blank gets its head once.
        made = [x["id"] for x in books.get(vendor, ()) if x["effect"] == effect and x["id"] != "Log!A1:K1"]
        if cases:
            found.append(_count(what, made, sorted(cases)))
    return found


def _elsewhere(vendor: str, books: Mapping[str, Iterable[Line]], steps: Iterable[Line]) -> list[Row]:
    """The same of any other vendor: money under our step's key, orders cancelled, units put back. Rows with nothing on
    either side are left out.
    """
    label = _LABELS[vendor]
    found = [
        _money(what.format(label), _by_reference(books, vendor, effect, _any_key), steps, vendor, actions)
        for what, effect, actions in _MONEY
    ]
    cancelled = _orders_in(books, vendor, "cancel_order") or _orders_in(books, vendor, "cancel_fulfillment")
    found.append(_count(f"orders cancelled in {label}", cancelled, _ours(steps, vendor, "cancel_order")))
    theirs: Counter[str] = Counter()
    for line in books.get(vendor, ()):
        if line["effect"] == "restock":
            # Square's orders name articles by the catalogue's id alone.
            article = (line.get("target") or {}).get("catalog_object_id") or line["sku"]
            theirs[str(article)] += int(line["quantity"])
    ours: Counter[str] = Counter()
    for step in _restocks(steps, vendor):
        for item in step["command"]["items"]:
            ours[item["sku"]] += item["quantity"]
    differences = [
        *(f"{n} x {sku} only there" for sku, n in (theirs - ours).items()),
        *(f"{n} x {sku} only here" for sku, n in (ours - theirs).items()),
    ]
    units = f"units put back in {label}"
    found.append(Row(units, str(theirs.total()), str(ours.total()), tuple(differences)))
    return [row for row in found if (row.theirs, row.ours) != ("0", "0")]


def _orders_in(books: Mapping[str, Iterable[Line]], vendor: str, effect: str) -> list[str]:
    return sorted(
        {str((x.get("target") or {}).get("order")) for x in books.get(vendor, ()) if x["effect"] == effect}
    )


def _restocks(steps: Iterable[Line], platform: str) -> list[Line]:
    return [
        s
        for s in steps
        if s["platform"] == platform and s["action"] == "restock" and s["state"] == "succeeded"
    ]


def _any_key(line: Line) -> str:
    """Our step's key, wherever the vendor let us write it."""
    found = _STEP_KEY.search(f"{line.get('reference')} {line.get('description')}")
    return found[0] if found else ""


def _stripe_reference(line: Line) -> str:
    return str((line.get("reference") or {}).get("refundflow_refund", ""))


def _note(line: Line) -> str:
    return str(line.get("reference") or "").removeprefix("refundflow ").strip()


def _text(line: Line) -> str:
    return str(line.get("reference") or "")


def _first_word(line: Line) -> str:
    return str(line.get("reference") or " ").split(" ")[0]


def _op(line: Line) -> str:
    return str((line.get("reference") or {}).get("op", ""))


def _by_reference(
    books: Mapping[str, Iterable[Line]], vendor: str, effect: str, key: Any
) -> list[tuple[str, int, str]]:
    """(our reference, minor units, currency) of every line of that effect that moved an amount and names one of ours."""
    return [
        (key(line), int(line["amount_minor"]), str(line["currency"]))
        for line in books.get(vendor, ())
        if line["effect"] == effect and line["amount_minor"] and key(line)
    ]


def _keys(books: Mapping[str, Iterable[Line]], vendor: str, effect: str) -> list[str]:
    return [str(line["id"]) for line in books.get(vendor, ()) if line["effect"] == effect]


def _ours(steps: Iterable[Line], platform: str, action: str) -> list[str]:
    return [s["step_key"] for s in steps if s["platform"] == platform and s["action"] == action]


def _money(
    what: str,
    theirs: list[tuple[str, int, str]],
    steps: Iterable[Line],
    platform: str,
    actions: tuple[str, ...],
) -> Row:
    ours = [
        (s["step_key"], int(s["amount_minor"]), str(s["currency"]))
        for s in steps
        if s["platform"] == platform and s["action"] in actions and s["amount_minor"]
    ]
    differences = [
        *(f"only in {platform}'s book: {x}" for x in (Counter(theirs) - Counter(ours)).elements()),
        *(f"only in ours: {x}" for x in (Counter(ours) - Counter(theirs)).elements()),
    ]
    return Row(what, _sums(theirs), _sums(ours), tuple(differences))


def _sums(lines: list[tuple[str, int, str]]) -> str:
    sums: Counter[str] = Counter()
    for _, minor, currency in lines:
        sums[currency] += minor
    text = " + ".join(f"{Money(minor, currency)}" for currency, minor in sorted(sums.items()))
    return f"{len(lines)}: {text}" if lines else "0"


def _count(what: str, theirs: list[str], ours: list[str]) -> Row:
    differences = () if len(theirs) == len(ours) else (f"{len(theirs)} there, {len(ours)} here",)
    return Row(what, str(len(theirs)), str(len(ours)), differences)


def _once(what: str, theirs: list[str], ours: list[str]) -> Row:
    """Each of our steps stands exactly once in their book, under its own key."""
    differences = [
        *(f"only there: {x}" for x in (Counter(theirs) - Counter(ours)).elements()),
        *(f"only here: {x}" for x in (Counter(ours) - Counter(theirs)).elements()),
    ]
    return Row(what, str(len(theirs)), str(len(ours)), tuple(differences))


def _is_ours(line: Line) -> bool:
    return str(line.get("reference") or "").startswith("refundflow ")


def _journal(connection: Connection, steps: Iterable[Line]) -> Row:
    """Our journal against our steps: every refund that stands is booked once, a reversed one back and forth."""
    booked = {
        (r["currency"], int(r["minor"]))
        for r in rows(
            connection,
            "SELECT currency, sum(amount_minor)::bigint AS minor FROM journal_lines WHERE account = 'refunds' GROUP BY currency",
        )
        if r["minor"]
    }
    sums: Counter[str] = Counter()
    for s in steps:
        if s["action"] == "refund" and s["state"] == "succeeded":
            sums[s["currency"]] += s["amount_minor"]
    stood = {(currency, minor) for currency, minor in sums.items() if minor}
    differences = [f"journal {x}" for x in sorted(booked - stood)] + [
        f"steps {x}" for x in sorted(stood - booked)
    ]
    return Row("our journal", _pairs(booked), _pairs(stood), tuple(differences))


def _pairs(pairs: Iterable[tuple[str, int]]) -> str:
    return " + ".join(f"{Money(minor, currency)}" for currency, minor in sorted(pairs)) or "0"
