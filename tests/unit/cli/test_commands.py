"""The command line without a house: help, usage mistakes, exit codes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from refundflow.cli import desk
from refundflow.cli.main import app, explain
from refundflow.flow.context import RefusedError
from refundflow.settings import SettingsError
from refundflow.store.db import DatabaseAwayError
from tests.unit.cli.commands import all_commands

#: Handed on as it was typed: its options are the practice vendors' own.
_HANDED_ON = {"sandbox"}
#: Run until their end, for people to watch.
_WATCHED = {"demo", "up"}
_ACTING = (
    "case approve",
    "case decline",
    "case replan",
    "dead-letters discard",
    "dead-letters replay",
    "dead-letters resolve",
    "events replay",
    "replay",
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "BROKER_URL", "REFUNDFLOW_CONFIG", "REFUNDFLOW_OPERATOR"):
        monkeypatch.delenv(name, raising=False)


def _type(*args: str) -> Result:
    return CliRunner().invoke(app, list(args))


def test_these_are_the_commands() -> None:
    assert sorted(all_commands()) == [
        "ask",
        "audit verify",
        "case approve",
        "case decline",
        "case list",
        "case replan",
        "case show",
        "connectors check",
        "db status",
        "db upgrade",
        "dead-letters discard",
        "dead-letters list",
        "dead-letters replay",
        "dead-letters resolve",
        "dead-letters show",
        "demo",
        "doctor",
        "events list",
        "events replay",
        "events show",
        "ledger balances",
        "plan",
        "portal link",
        "replay",
        "sandbox",
        "sources",
        "task show",
        "templates check",
        "templates preview",
        "up",
        "why",
    ]


@pytest.mark.parametrize("words", sorted(all_commands()))
def test_every_command_has_help_and_says_what_each_option_means(words: str) -> None:
    command = all_commands()[words]

    assert command.help
    for parameter in command.params:
        assert parameter.help, f"{words} {parameter.name}"
    if words not in _HANDED_ON | _WATCHED:
        assert _type(*words.split(), "--help").exit_code == 0


@pytest.mark.parametrize("words", sorted(all_commands().keys() - _HANDED_ON - _WATCHED))
def test_every_command_can_answer_in_json(words: str) -> None:
    assert "--json" in [opt for parameter in all_commands()[words].params for opt in parameter.opts]


@pytest.mark.parametrize("words", _ACTING)
def test_whatever_acts_takes_the_operators_name(words: str) -> None:
    assert "--operator" in [opt for parameter in all_commands()[words].params for opt in parameter.opts]


def test_the_top_help_documents_the_exit_codes() -> None:
    told = " ".join(_type("--help").stdout.split())

    assert (
        "Exit codes: 0 ok. 1 something is wrong: a check failed, or the move was refused. 2 a usage mistake, an unknown "
        "id, or settings that cannot work. 3 the database or the broker is away." in told
    )


@pytest.mark.parametrize(
    ("_case", "args", "first_line"),
    [
        ("replay without a target", ("replay",), "error: what should be replayed?"),
        ("all and a target", ("replay", "RF-1", "--all"), "error: --all and RF-1 contradict each other"),
        (
            "no reason",
            ("replay", "RF-1", "--execute", "--operator", "ana"),
            "error: a reason is missing",
        ),
        (
            "an empty reason",
            ("case", "approve", "RF-1", "--reason", " ", "--operator", "ana"),
            "error: a reason is missing",
        ),
        (
            "an empty proof",
            ("dead-letters", "resolve", "RF-1.human_task.1", "--proof", " ", "--operator", "ana"),
            "error: a proof is missing",
        ),
        (
            "a queue for a step",
            ("dead-letters", "replay", "RF-1.refund.1", "--queue", "money"),
            "error: --queue is for messages; a step knows its queue",
        ),
    ],
)
def test_a_mistake_ends_with_2_and_a_hint_on_standard_error(
    _case: str, args: tuple[str, ...], first_line: str
) -> None:
    result = _type(*args)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == first_line
    assert result.stderr.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize(
    "args",
    [
        ("case", "approve", "RF-1"),
        ("case", "show"),
        ("case", "list", "--state", "lost"),
        ("case", "list", "--limit", "0"),
        ("nothing",),
    ],
)
def test_what_typer_refuses_ends_with_2_too(args: tuple[str, ...]) -> None:
    result = _type(*args)

    assert (result.exit_code, result.stdout) == (2, "")


def test_settings_that_cannot_work_are_told_all_at_once(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))

    result = _type("case", "list")

    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(" is not set")[0] for line in result.stderr.splitlines()[1:3]] == [
        "  - DATABASE_URL",
        "  - BROKER_URL",
    ]


@pytest.mark.parametrize(
    ("_case", "error", "code"),
    [
        ("a mistake", desk.MistakeError("no case RF-1"), 2),
        ("settings", SettingsError(("BROKER_URL is not set",)), 2),
        ("refused", RefusedError("the case is running"), 1),
        ("database", DatabaseAwayError("PostgreSQL is away"), 3),
        ("broker", desk.BrokerAwayError("connection refused"), 3),
    ],
)
def test_each_trouble_has_its_exit_code(_case: str, error: Exception, code: int) -> None:
    trouble = explain(error)

    assert trouble is not None
    assert trouble.code == code


def test_a_bug_is_no_trouble_of_the_users_and_keeps_its_traceback() -> None:
    assert explain(KeyError("bug")) is None


def test_somebody_must_say_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)

    result = _type("case", "approve", "RF-1", "--reason", "right")

    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "error: who acts is not known"
