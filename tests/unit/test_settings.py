"""Settings: every problem at once, by name, and nothing secret in a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from refundflow import wiring
from refundflow.domain.policy import Policy
from refundflow.settings import Secret, SettingsError, load, read

_GOOD = {"DATABASE_URL": "postgresql://a@h/b", "BROKER_URL": "redis://h:6379/0"}


def _with_toml(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "refundflow.toml"
    path.write_text(text, encoding="utf-8")
    return {**_GOOD, "REFUNDFLOW_CONFIG": str(path)}


def test_the_smallest_settings_have_defaults_for_the_rest() -> None:
    settings = load({**_GOOD, "REFUNDFLOW_CONFIG": ""})
    assert settings.database_url.reveal() == "postgresql+psycopg2://a@h/b"
    assert settings.result_url.reveal() == "redis://h:6379/0"
    assert settings.policy == Policy()
    assert settings.platforms == {}


def test_results_go_to_the_database_when_the_broker_is_rabbitmq_and_there_is_no_redis() -> None:
    settings = load({**_GOOD, "BROKER_URL": "amqp://guest@h//"})
    assert settings.result_url.reveal() == "db+postgresql+psycopg2://a@h/b"
    assert not settings.redis_url


@pytest.mark.parametrize(
    ("_case", "toml", "problem"),
    [
        ("a section that is not there", "[polcy]\n", "no section [polcy]"),
        ("a key that is not there", "[policy]\nauto = 1\n", "[policy]"),
        ("a number as text", '[pace]\nlease_s = "5"\n', "expected float @ $.lease_s"),
        (
            "a limit with too many decimals",
            '[policy]\nauto_approve_limit = { EUR = "1.005" }\n',
            "more decimals than EUR",
        ),
        (
            "a choice that is not one",
            '[policy]\non_warning = "pray"\n',
            "on_warning must be one of hold, refund",
        ),
        ("a wait that belongs in the row", "[pace]\nshort_s = 90\n", "short_s above 60"),
        ("no TOML", "policy = [", "refundflow.toml"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, _case: str, toml: str, problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(_with_toml(tmp_path, toml))
    assert problem in str(raised.value)


def test_all_problems_are_told_at_once_with_those_of_the_platforms() -> None:
    environment = {
        "DATABASE_URL": "mysql://x",
        "REFUNDFLOW_LOG_LEVEL": "loud",
        "REFUNDFLOW_API_KEYS": "shop:short",
        "REFUNDFLOW_STRIPE_SECRET": "sk_live_hidden",
    }
    settings, problems = read(environment)
    everything = "\n".join((*problems, *wiring.platform_problems(settings)))
    for name in (
        "DATABASE_URL",
        "BROKER_URL",
        "REFUNDFLOW_LOG_LEVEL",
        "REFUNDFLOW_API_KEYS",
        "REFUNDFLOW_STRIPE_SECRET is no setting",
        "REFUNDFLOW_STRIPE_SECRET_KEY is not set",
        "[routing] order_platform",
    ):
        assert name in everything
    assert "sk_live_hidden" not in everything


def test_a_secret_hides_itself() -> None:
    secret = Secret("sk_live_123")
    assert (str(secret), repr(secret), f"{secret}") == ("Secret(***)", "Secret(***)", "Secret(***)")
    assert secret.reveal() == "sk_live_123"


def test_limits_are_read_in_major_units_without_a_float(tmp_path: Path) -> None:
    settings = load(
        _with_toml(tmp_path, '[policy]\nauto_approve_limit = { EUR = "500.00", JPY = "50000" }\n')
    )
    assert settings.policy.auto_approve_limit == (("EUR", 50_000), ("JPY", 50_000))
