"""The README cannot lag behind: every command has a place in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.commands import all_commands

_README = Path(__file__).parents[3] / "README.md"


@pytest.mark.skipif(not _README.exists(), reason="there is no README.md yet")
def test_every_command_has_a_place_in_the_readme() -> None:
    text = _README.read_text(encoding="utf-8")

    assert [words for words in all_commands() if f"refundflow {words}" not in text] == []
