"""Payments: what was captured, what is reserved for refunds on their way, what is settled.

`reserved + settled <= captured` is a CHECK; every change goes through one conditional statement on the payment's row,
whose lock decides who pays when a refund and a dispute meet.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from refundflow.domain.facts import OrderFacts, PaymentFacts
from refundflow.domain.plan import payment_id_of
from refundflow.store.db import execute, row, rows


def note_facts(connection: Connection, order: OrderFacts, payment: PaymentFacts, *, now: datetime) -> None:
    """Writes down what the payer said. What we reserved and settled ourselves is never touched here.

    A dispute's end, once known, is not forgotten by a read that says nothing about it.
    """
    execute(
        connection,
        "INSERT INTO payments AS p (payment_id, platform, reference, order_platform, order_id, currency, authorised,"
        " captured, external, dispute, dispute_reference, updated_at)"
        " VALUES (:payment_id, :platform, :reference, :order_platform, :order_id, :currency, :authorised, :captured,"
        " :external, :dispute, :dispute_reference, :now)"
        " ON CONFLICT (payment_id) DO UPDATE SET authorised = EXCLUDED.authorised,"
        " captured = GREATEST(p.captured, EXCLUDED.captured), external = EXCLUDED.external,"
        " dispute = CASE WHEN EXCLUDED.dispute = 'none' THEN p.dispute ELSE EXCLUDED.dispute END,"
        " dispute_reference = CASE WHEN EXCLUDED.dispute = 'none' THEN p.dispute_reference ELSE EXCLUDED.dispute_reference END,"
        " updated_at = :now",
        payment_id=payment_id_of(payment.platform, payment.reference),
        platform=payment.platform,
        reference=payment.reference,
        order_platform=order.platform,
        order_id=order.order_id,
        currency=payment.captured.currency,
        authorised=payment.authorised.minor,
        captured=payment.captured.minor,
        external=payment.refunded_elsewhere,
        dispute=payment.dispute.value,
        dispute_reference=payment.dispute_reference,
        now=now,
    )


def reserve(connection: Connection, payment_id: str, minor: int) -> bool:
    """Sets an amount aside before any call. False when it is not there, or a dispute took the money already."""
    return (
        execute(
            connection,
            "UPDATE payments SET reserved = reserved + :minor WHERE payment_id = :id"
            " AND reserved + settled + external + :minor <= captured AND dispute NOT IN ('open', 'lost')",
            id=payment_id,
            minor=minor,
        )
        == 1
    )


def release(connection: Connection, payment_id: str, minor: int) -> None:
    """Gives a reservation back: the refund certainly did not and will not happen."""
    execute(
        connection,
        "UPDATE payments SET reserved = reserved - :minor WHERE payment_id = :id",
        id=payment_id,
        minor=minor,
    )


def settle(connection: Connection, payment_id: str, minor: int) -> None:
    """The reserved amount went out."""
    execute(
        connection,
        "UPDATE payments SET reserved = reserved - :minor, settled = settled + :minor WHERE payment_id = :id",
        id=payment_id,
        minor=minor,
    )


def unsettle(connection: Connection, payment_id: str, minor: int) -> None:
    """A refund that had gone out came back: the money is refundable again."""
    execute(
        connection,
        "UPDATE payments SET settled = settled - :minor WHERE payment_id = :id",
        id=payment_id,
        minor=minor,
    )


def set_dispute(
    connection: Connection,
    platform: str,
    reference: str,
    *,
    dispute: str,
    dispute_reference: str,
    now: datetime,
) -> bool:
    """Notes how a dispute stands. False when we do not know the payment.

    Deliveries may come out of order: a dispute that ended is not opened again by a late word about its beginning.
    """
    return (
        execute(
            connection,
            "UPDATE payments SET dispute = CASE WHEN dispute IN ('won', 'lost') AND dispute_reference = :ref"
            " AND :dispute IN ('warning', 'open') THEN dispute"
            " WHEN dispute = 'open' AND dispute_reference = :ref AND :dispute = 'warning' THEN dispute ELSE :dispute END,"
            " dispute_reference = :ref, updated_at = :now WHERE platform = :platform AND reference = :reference",
            platform=platform,
            reference=reference,
            dispute=dispute,
            ref=dispute_reference,
            now=now,
        )
        == 1
    )


def lock(connection: Connection, payment_id: str) -> dict[str, Any] | None:
    """The payment's row, locked until the end of the transaction."""
    return row(connection, "SELECT * FROM payments WHERE payment_id = :id FOR UPDATE", id=payment_id)


def by_reference(connection: Connection, platform: str, reference: str) -> dict[str, Any] | None:
    """A payment by its payer's reference."""
    return row(
        connection,
        "SELECT * FROM payments WHERE platform = :platform AND reference = :reference",
        platform=platform,
        reference=reference,
    )


def of_order(connection: Connection, platform: str, order_id: str) -> list[dict[str, Any]]:
    """All payments of an order that we know."""
    return rows(
        connection,
        "SELECT * FROM payments WHERE order_platform = :platform AND order_id = :order_id ORDER BY payment_id",
        platform=platform,
        order_id=order_id,
    )
