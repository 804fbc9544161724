"""`db`: the schema."""

from __future__ import annotations

import typer

from refundflow.cli import desk

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """Bring the schema to this release. Safe to run twice, and from many hosts at once."""
    from refundflow.cli import show
    from refundflow.store import db

    before = desk.read(ctx, db.current_revision)
    after = db.upgrade(desk.database(ctx))
    if as_json:
        show.document({"before": before, "revision": after})
    elif before == after:
        show.line(show.out(), f"the schema is at revision {after} already")
    else:
        show.line(show.out(), f"the schema went from {before or 'nothing'} to revision {after}")


@app.command("status")
def status(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """The schema's revision, and the one that this release needs; exit code 1 where they differ."""
    from refundflow.cli import show
    from refundflow.store import db

    current, needed = desk.read(ctx, db.current_revision), db.head_revision()
    if as_json:
        show.document({"revision": current, "needed": needed, "is_current": current == needed})
    else:
        show.line(show.out(), f"revision {current or 'none'}; this release needs {needed}")
    if current != needed:
        if not as_json:
            show.note("hint: run `refundflow db upgrade`")
        raise typer.Exit(desk.WRONG)
