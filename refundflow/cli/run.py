"""Commands that start something: the practice vendors, the whole system, the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(door: typer.Typer) -> None:
    door.command("demo")(demo)
    door.command("up")(up)
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


def demo(
    home: Annotated[
        Path | None, typer.Option(help="Keep everything in this folder; by default a temporary one is used.")
    ] = None,
    platform: Annotated[
        str, typer.Option(help="Play only the scenes in which this platform has a part, such as paypal.")
    ] = "",
) -> None:
    """Play the demo: the whole system, thirty-six scenes, a killed worker, and books that must agree (exit code 0)."""
    from rich.console import Console

    from refundflow.demo.run import run_demo
    from refundflow.demo.scenes import scenes_of

    try:
        chosen = scenes_of(platform) if platform else ()
    except LookupError as error:
        raise typer.BadParameter(str(error.args[0]), param_hint="--platform") from error
    raise typer.Exit(run_demo(Console(), home, chosen))


def up(
    home: Annotated[Path, typer.Option(help="Where databases and logs live.")] = Path(".refundflow"),
    seed: Annotated[bool, typer.Option(help="Fill the practice vendors with the demo's orders.")] = True,
) -> None:
    """Keep the whole system running on this machine, with practice vendors to play with; Ctrl-C ends it."""
    from rich.console import Console

    from refundflow.demo.run import run_up

    raise typer.Exit(run_up(Console(), home, seed=seed))
