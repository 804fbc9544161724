"""`audit`: whether what was written down is still what was written down."""

from __future__ import annotations

from typing import Annotated

import typer

from refundflow.cli import desk

app = typer.Typer(help="The append-only, hash-chained audit.", no_args_is_help=True)


@app.callback()
def _audit() -> None:
    """The append-only, hash-chained audit."""


@app.command("verify")
def verify(
    ctx: typer.Context,
    expect: Annotated[
        str,
        typer.Option(
            "--expect",
            metavar="ROOT",
            help="The root that was kept elsewhere: it must come out again while nothing was added.",
        ),
    ] = "",
    as_json: desk.AsJson = False,
) -> None:
    """Walk every chain, and name the first row that was changed, dropped or reordered."""
    from refundflow.cli import show
    from refundflow.store import audit

    verdict = desk.read(ctx, audit.verify)
    found = verdict.first_break
    is_expected = not expect or expect == verdict.root
    is_ok = found is None and is_expected
    if as_json:
        show.document(
            {
                "is_ok": is_ok,
                "rows": verdict.rows,
                "chains": verdict.chains,
                "root": verdict.root,
                "is_expected_root": is_expected,
                "first_break": found,
            }
        )
    else:
        console = show.out()
        told = f"{show.count(verdict.rows, 'row')} in {show.count(verdict.chains, 'chain')} checked"
        if found is not None:
            show.line(console, f"{told}: BROKEN", "bold red")
            show.line(console, f"{found.table} of {found.case_id}, row {found.row}: {found.what}")
        else:
            show.line(console, f"{told}: every chain holds", "green")
        show.line(console, f"root {verdict.root}")
        if not is_expected:
            show.line(console, f"expected {expect}: NOT THE SAME", "bold red")
    if not is_ok:
        raise typer.Exit(desk.WRONG)
