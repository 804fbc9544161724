"""Agreement: the vendors' books beside ours, line by line. They must say the same, or the demo fails.

The vendors' books are what really happened; our rows are what we say happened. Every refund in a payer's book that carries
our reference must be one succeeded step with the same amount, and the other way round; the same for cancels, restocked
units, notes and payments in the books, and messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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


def compare(connection: Connection, books: Mapping[str, Iterable[Line]]) -> list[Row]:
    """Every kind of effect, theirs against ours. `books`: as `GET /_sandbox/book` gives them, lines by vendor."""
    steps = rows(
        connection,
        "SELECT s.step_key, s.kind, s.action, s.platform, s.state, s.code, s.amount_minor, s.currency, s.reference"
        " FROM steps s WHERE s.state IN ('succeeded', 'reversed') ORDER BY s.step_key",
    )
    return [
        _money(
            "refunds at Stripe",
            _by_reference(books, "stripe", "refund", _stripe_reference),
            steps,
            "stripe",
            "refund",
        ),
        _money(
            "refunds at Shopify", _by_reference(books, "shopify", "refund", _note), steps, "shopify", "refund"
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
            _restocked(connection),
        ),
        _money(
            "refunds in Xero",
            _by_reference(books, "xero", "record_refund", _first_word),
            steps,
            "xero",
            "record_refund",
        ),
        _money(
            "credit notes in Xero",
            _by_reference(books, "xero", "create_credit_note", _text),
            steps,
            "xero",
            "credit_note",
        ),
        _once(
            "mails sent",
            [str(x["reference"]) for x in books.get("mailgun", ()) if x["effect"] == "send_message"],
            _ours(steps, "mailgun", "send_message"),
        ),
        _once(
            "Slack messages",
            [_op(x) for x in books.get("slack", ()) if x["effect"] == "post_message"],
            _ours(steps, "slack", "send_message"),
        ),
        _journal(connection, steps),
    ]


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
    what: str, theirs: list[tuple[str, int, str]], steps: Iterable[Line], platform: str, action: str
) -> Row:
    ours = [
        (s["step_key"], int(s["amount_minor"]), str(s["currency"]))
        for s in steps
        if s["platform"] == platform and s["action"] == action
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


def _restocked(connection: Connection) -> list[str]:
    """The order lines of every restock that is proven, each step's lines one by one."""
    return [
        r["line"]
        for r in rows(
            connection,
            "SELECT l ->> 'line_id' AS line FROM steps s, jsonb_array_elements(s.command -> 'lines') l"
            " WHERE s.action = 'restock' AND s.state = 'succeeded'",
        )
    ]


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
