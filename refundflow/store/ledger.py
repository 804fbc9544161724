"""The journal: our own double entry, written in the transaction that records the money step's outcome.

Append-only and balanced per currency by the database (a deferred constraint). Debit positive, credit negative.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from refundflow.domain.money import Money
from refundflow.store.db import execute, row, rows


def book_refund(
    connection: Connection,
    *,
    case_id: str,
    step_key: str,
    platform: str,
    amount: Money,
    now: datetime,
    memo: str,
) -> bool:
    """Debit `refunds`, credit what the payer holds for us. False when this step is booked already."""
    return _book(
        connection, case_id, step_key, "refund", "refunds", f"clearing:{platform}", amount, now, memo
    )


def book_reversal(
    connection: Connection,
    *,
    case_id: str,
    step_key: str,
    platform: str,
    amount: Money,
    now: datetime,
    memo: str,
) -> bool:
    """The refund came back: the opposite entry. False when it is booked already."""
    return _book(
        connection, case_id, step_key, "refund_reversed", f"clearing:{platform}", "refunds", amount, now, memo
    )


def _book(
    connection: Connection,
    case_id: str,
    step_key: str,
    kind: str,
    debit: str,
    credit: str,
    amount: Money,
    now: datetime,
    memo: str,
) -> bool:
    entry = row(
        connection,
        "INSERT INTO journal_entries (case_id, step_key, kind, at, memo) VALUES (:case_id, :step_key, :kind, :now, :memo)"
        " ON CONFLICT (step_key, kind) DO NOTHING RETURNING id",
        case_id=case_id,
        step_key=step_key,
        kind=kind,
        now=now,
        memo=memo,
    )
    if entry is None:
        return False
    execute(
        connection,
        "INSERT INTO journal_lines (entry_id, account, currency, amount_minor)"
        " VALUES (:id, :debit, :currency, :minor), (:id, :credit, :currency, -CAST(:minor AS bigint))",
        id=entry["id"],
        debit=debit,
        credit=credit,
        currency=amount.currency,
        minor=amount.minor,
    )
    return True


def of_case(connection: Connection, case_id: str) -> list[dict[str, Any]]:
    """The case's journal lines, oldest first."""
    return rows(
        connection,
        "SELECT e.id, e.step_key, e.kind, e.at, e.memo, l.account, l.currency, l.amount_minor FROM journal_entries e"
        " JOIN journal_lines l ON l.entry_id = e.id WHERE e.case_id = :case_id ORDER BY e.id, l.amount_minor DESC",
        case_id=case_id,
    )


def balances(connection: Connection) -> list[dict[str, Any]]:
    """Every account's balance per currency."""
    return rows(
        connection,
        "SELECT account, currency, sum(amount_minor)::bigint AS amount_minor FROM journal_lines"
        " GROUP BY account, currency ORDER BY account, currency",
    )
