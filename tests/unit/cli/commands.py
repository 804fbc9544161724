"""Every command of the command line, by the words that are typed."""

from __future__ import annotations

from typing import Any

import typer.main

from refundflow.cli.main import app


def all_commands() -> dict[str, Any]:
    """By words (`case show`), typer's own commands, groups left out."""
    found: dict[str, Any] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, inner in command.commands.items():
            if hasattr(inner, "commands"):
                walk(inner, (*words, name))
            else:
                found[" ".join((*words, name))] = inner

    walk(typer.main.get_command(app), ())
    return found
