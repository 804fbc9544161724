"""The house itself: files that must say the same."""

from __future__ import annotations

from pathlib import Path

from refundflow.demo.places import LOCATION
from refundflow.demo.stack import PROCFILE

_ROOT = Path(__file__).parents[2]


def test_the_shipped_procfile_is_the_projects_own_word_for_word() -> None:
    assert (_ROOT / "Procfile").read_text(encoding="utf-8") == PROCFILE


def test_the_demos_rules_name_the_demos_warehouse() -> None:
    rules = (_ROOT / "refundflow/demo/refundflow.toml").read_text(encoding="utf-8")
    assert f'stock_location = "gid://shopify/Location/{LOCATION}"' in rules


def test_the_lock_names_no_index() -> None:
    lock = (_ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert "--index-url" not in lock
