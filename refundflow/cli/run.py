"""Commands that start something and stay: the practice vendors."""

from __future__ import annotations

import typer


def register(door: typer.Typer) -> None:
    door.command(
        "sandbox",
        # Its options are its own: they are handed on as they were typed, `--help` too.
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(sandbox)


def sandbox(ctx: typer.Context) -> None:
    """Serve the practice vendors, to rehearse a policy or a bad night. `refundflow sandbox --help` lists its options."""
    from refundflow.sandbox import serve

    serve.main(ctx.args)
