"""`ledger`: our own double-entry journal."""

from __future__ import annotations

import typer

from refundflow.cli import desk

app = typer.Typer(help="Our own double-entry journal.", no_args_is_help=True)


@app.callback()
def _ledger() -> None:
    """Our own double-entry journal."""


@app.command("balances")
def balances(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """Every account's balance per currency; debit is positive, and each currency sums to zero."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import ledger

    found = desk.read(ctx, ledger.balances)
    if as_json:
        show.document({"accounts": found})
        return
    console = show.out()
    if not found:
        show.line(console, "nothing is booked yet")
        return
    show.table(
        console,
        [Column("account"), Column("balance", is_right=True)],
        [[b["account"], show.money(b["amount_minor"], b["currency"])] for b in found],
    )
