"""The house itself: files that must say the same."""

from __future__ import annotations

from pathlib import Path

from refundflow.demo import practice
from refundflow.demo.places import LOCATION
from refundflow.demo.stack import PROCFILE
from refundflow.settings import PLATFORMS, load
from refundflow.wiring import CREDENTIALS, platform_problems
from tests.support.connectors import CONNECTORS

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


def test_every_platform_is_declared_once_and_told_in_the_readme() -> None:
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert set(PLATFORMS) == set(CREDENTIALS) == {subject.platform for subject in CONNECTORS}
    for slug in PLATFORMS:
        assert f"`REFUNDFLOW_{slug.upper().replace('-', '_')}_…`" in readme, slug


def test_the_demos_environment_is_one_that_the_settings_take_whole() -> None:
    environment = {
        "DATABASE_URL": "postgresql://refundflow@127.0.0.1/refundflow",
        "BROKER_URL": "redis://127.0.0.1:6379/0",
        "REFUNDFLOW_CONFIG": str(_ROOT / "refundflow/demo/refundflow.toml"),
        **practice.environment("http://127.0.0.1:8099"),
    }
    settings = load(environment)
    assert set(settings.platforms) == set(PLATFORMS)
    assert platform_problems(settings) == ()
