"""Tables keep ids whole at every width, and show vendors' texts without obeying them."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from rich.console import Console

from refundflow.cli import show
from refundflow.cli.show import Column
from refundflow.domain.money import Money

KEY = "RF-01K0000A7ABCDEF.cancel_order.1"


def _drawn(width: int, why: str = "the vendor said no, and then said it again") -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, emoji=False, highlight=False)
    show.table(console, [Column("step"), Column("state"), Column("why", wraps=True)], [[KEY, "unknown", why]])
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 62, 80, 120, 200])
def test_a_step_key_is_whole_at_every_width(width: int) -> None:
    assert sum(KEY in line for line in _drawn(width)) == 1


def test_a_table_that_does_not_fit_is_written_as_blocks() -> None:
    assert _drawn(50) == [
        KEY,
        "  state: unknown",
        "  why: the vendor said no, and then said it again",
    ]


def test_square_brackets_and_control_characters_of_a_vendor_are_shown_literally() -> None:
    assert _drawn(200, "[red]no[/red] \x1b[2J")[-1].endswith("[red]no[/red] \N{REPLACEMENT CHARACTER}[2J")


def test_a_column_that_says_nothing_is_left_out() -> None:
    assert _drawn(120, "")[0].split() == ["step", "state"]


def test_times_are_utc_to_the_second() -> None:
    berlin = datetime(2026, 11, 23, 3, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))

    assert show.when(berlin) == "2026-11-23T02:00:00Z"
    assert show.when(None) == ""


def test_a_document_has_money_in_minor_units(capsys: pytest.CaptureFixture[str]) -> None:
    show.document({"amount": Money(4250, "EUR"), "rate": Decimal("1.50"), "body": b"\xff", "steps": (1, 2)})

    assert json.loads(capsys.readouterr().out) == {
        "amount": {"minor": 4250, "currency": "EUR"},
        "rate": "1.50",
        "body": "\N{REPLACEMENT CHARACTER}",
        "steps": [1, 2],
    }
