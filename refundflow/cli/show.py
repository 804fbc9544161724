"""How answers look: tables for people, one JSON document for programs.

Ids are never cut or wrapped: a table that would not fit is written as blocks instead. Texts from vendors are shown
literally, with control characters made visible, so that none of them can move the cursor or fake a line.
"""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refundflow.domain.money import Money

_PIPE_WIDTH: Final = 200
_NARROWEST: Final = 16
_COLOURS: Final = {
    "succeeded": "green",
    "complete": "green",
    "ok": "green",
    "dead_lettered": "bold red",
    "attention": "bold red",
    "error": "bold red",
    "unknown": "yellow",
    "pending": "yellow",
    "held": "yellow",
    "in_flight": "cyan",
    "running": "cyan",
    "warning": "yellow",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `wraps`: its text may be broken into lines; all others are kept whole."""

    name: str
    wraps: bool = False
    is_right: bool = False


def out() -> Console:
    """Standard output. Colours and the terminal's width where it is one; wide and plain in a pipe."""
    return _console(sys.stdout)


def err() -> Console:
    """Standard error: notes and errors, so that a pipe sees the answer only."""
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    width = shutil.get_terminal_size((_PIPE_WIDTH, 50)).columns if file.isatty() else _PIPE_WIDTH
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False)


def document(plain: Mapping[str, Any]) -> None:
    """Writes one JSON document to standard output."""
    sys.stdout.write(json.dumps(_plain(plain), ensure_ascii=False, indent=2) + "\n")


def _plain(value: Any) -> Any:
    match value:
        case Money(minor=minor, currency=currency):
            return {"minor": minor, "currency": currency}
        case Enum():
            return value.value
        case datetime():
            return when(value)
        case Decimal():
            return str(value)
        case bytes() | memoryview():
            return bytes(value).decode("utf-8", "replace")
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _plain(asdict(value))
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case _:
            return value


def when(moment: datetime | None) -> str:
    """A time as UTC ISO 8601 to the second, empty for none."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def money(minor: int | None, currency: str | None) -> str:
    """An amount in major units with its currency, empty for none."""
    return str(Money(minor, currency)) if minor is not None and currency else ""


def count(number: int, one: str, many: str = "") -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def literal(value: Any) -> str:
    """A value as text for a terminal: control characters are shown, not obeyed."""
    text = when(value) if isinstance(value, datetime) else "" if value is None else str(value)
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf") else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def styled(value: Any) -> Text:
    text = literal(value)
    return Text(text, style=_COLOURS.get(text, ""))


def heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(literal(text), style="bold"), soft_wrap=True)


def line(console: Console, text: str = "", style: str = "", indent: int = 0) -> None:
    """One line, however long; a terminal wraps it, a pipe gets it whole."""
    console.print(Text(" " * indent + literal(text), style=style), soft_wrap=True)


def table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """A table where it fits the width with every id whole, else one block per row."""
    cells = [[literal(value) for value in row] for row in rows]
    # A column that says nothing in any row only takes room from the others.
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i] for row in cells)]
    columns = [columns[i] for i in kept]
    cells = [[row[i] for i in kept] for row in cells]
    widths = [max([len(c.name), *(_widest(row[i]) for row in cells)]) for i, c in enumerate(columns)]
    needed = sum(min(w, _NARROWEST) if c.wraps else w for w, c in zip(widths, columns, strict=True))
    if needed + 2 * len(columns) > console.width:
        _blocks(console, columns, cells)
        return
    drawn = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True
    )
    for column, width in zip(columns, widths, strict=True):
        drawn.add_column(
            column.name,
            no_wrap=not column.wraps,
            min_width=min(width, _NARROWEST) if column.wraps else width,
            justify="right" if column.is_right else "left",
            overflow="fold",
        )
    for row in cells:
        drawn.add_row(*(styled(value) for value in row))
    console.print(drawn)


def _widest(text: str) -> int:
    return max((len(part) for part in text.split("\n")), default=0)


def _blocks(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    for row in cells:
        line(console, row[0], "bold")
        for column, value in zip(columns[1:], row[1:], strict=True):
            if value:
                line(console, f"{column.name}: {value}", indent=2)


def note(text: str) -> None:
    """A remark on standard error."""
    line(err(), text)
