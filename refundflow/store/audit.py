"""The audit: append-only, hash-chained by the database itself, verified here.

A chain per case (and one, `system`, that names every case ever opened): changing, dropping or reordering a row breaks
the chain at that row; cutting off a tail disagrees with the chain's head; dropping a whole case leaves its name behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, text

from refundflow.store.codec import dump
from refundflow.store.db import execute, rows

SYSTEM: Final = "system"
_CHAINED: Final = ("audit", "attempts")


def write(
    connection: Connection,
    case_id: str,
    event: str,
    *,
    now: datetime,
    actor: str,
    step_key: str = "",
    **detail: Any,
) -> None:
    """Appends one entry. `event`: a constant name such as `step.succeeded`; `detail`: ids and amounts, no personal data."""
    execute(
        connection,
        "INSERT INTO audit (case_id, at, actor, event, step_key, detail)"
        " VALUES (:case_id, :now, :actor, :event, :step_key, CAST(:detail AS jsonb))",
        case_id=case_id,
        now=now,
        actor=actor,
        event=event,
        step_key=step_key,
        detail=dump(detail),
    )


def of_case(connection: Connection, case_id: str) -> list[dict[str, Any]]:
    """The case's audit, oldest first."""
    return rows(
        connection,
        "SELECT chain_no, at, actor, event, step_key, detail, hash FROM audit WHERE case_id = :case_id ORDER BY chain_no",
        case_id=case_id,
    )


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a chain does not hold. `row`: its number in the chain, counted from 1."""

    table: str
    case_id: str
    row: int
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rows` checked in `chains`; `root`: one digest over all chain heads, to be kept somewhere else and compared later."""

    rows: int
    chains: int
    root: str
    first_break: Break | None


def verify(connection: Connection) -> Verdict:
    """Walks every chain in a stable snapshot. Reads only."""
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))  # a long audit is no stuck query
    heads = {
        r["chain"]: (r["length"], r["hash"])
        for r in rows(connection, "SELECT chain, length, hash FROM chain_heads")
    }
    root = hashlib.sha256("".join(f"{c}{n}{h}" for c, (n, h) in sorted(heads.items())).encode()).hexdigest()
    checked = 0
    found: Break | None = None
    seen: set[str] = set()
    for table in _CHAINED:
        for case_id, chain in _chains(connection, table):
            seen.add(f"{table}:{case_id}")
            checked += len(chain)
            found = found or _first_break(table, case_id, chain, heads.get(f"{table}:{case_id}"))
    for name in sorted(heads.keys() - seen):
        table, _, case_id = name.partition(":")
        found = found or Break(table, case_id, 1, "the whole chain is gone")
    for opened in rows(
        connection,
        "SELECT a.chain_no, a.detail ->> 'opened' AS case_id FROM audit a WHERE a.case_id = 'system'"
        " AND a.event = 'case.opened' ORDER BY a.chain_no",
    ):
        if f"audit:{opened['case_id']}" not in seen:
            found = found or Break(
                "audit", opened["case_id"], 1, "the case was opened and has no audit any more"
            )
    return Verdict(checked, len(seen), root, found)


def _chains(connection: Connection, table: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    current: str | None = None
    chain: list[dict[str, Any]] = []
    result = connection.execution_options(yield_per=2000).execute(
        text(
            f"SELECT case_id, chain_no, prev_hash, hash, (to_jsonb(t) - 'hash')::text AS content FROM {table} t"
            " ORDER BY case_id, chain_no, id"
        )
    )
    for r in result.mappings():
        if r["case_id"] != current:
            if current is not None:
                yield current, chain
            current, chain = r["case_id"], []
        chain.append(dict(r))
    if current is not None:
        yield current, chain


def _first_break(
    table: str, case_id: str, chain: list[dict[str, Any]], head: tuple[int, str] | None
) -> Break | None:
    before = "0" * 64
    for number, entry in enumerate(chain, start=1):
        if entry["chain_no"] != number:
            return Break(table, case_id, number, f"row {number} is missing (found row {entry['chain_no']})")
        if entry["prev_hash"] != before:
            return Break(table, case_id, number, f"row {number} does not follow row {number - 1}")
        if hashlib.sha256(entry["content"].encode()).hexdigest() != entry["hash"]:
            return Break(table, case_id, number, f"row {number} was changed")
        before = entry["hash"]
    if head is None:
        return Break(table, case_id, len(chain), "the chain's head is gone")
    if head != (len(chain), before):
        return Break(
            table, case_id, len(chain) + 1, f"rows after {len(chain)} are missing (the head says {head[0]})"
        )
    return None
