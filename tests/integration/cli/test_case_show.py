"""`case show` at 3 a.m.: what happened, what is certain, what is not, what is safe to do next."""

from __future__ import annotations

import json

import pytest

from refundflow.domain.policy import Policy
from refundflow.domain.states import CaseState
from tests.integration.cli.desk import (
    CANCEL,
    CANCELLED,
    CASE,
    REFUND,
    REFUNDED,
    REFUSED,
    STILL_UNKNOWN,
    TASK,
    UNSURE,
    Desk,
)

pytestmark = pytest.mark.integration


def _section(lines: list[str], name: str) -> list[str]:
    """The lines under a heading, up to the next empty line."""
    rest = lines[lines.index(name) + 1 :]
    return rest[: rest.index("")]


def _row(lines: list[str], key: str) -> list[str]:
    """A table row's cells."""
    [line] = [line for line in lines if line.startswith(f"{key} ")]
    return line.split()


def test_a_running_case_says_where_each_step_stands_and_that_nobody_is_needed(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)

    lines = desk.lines("case", "show", CASE)

    assert lines[:4] == [
        f"{CASE}  order #1001  running",
        "  why: steps are on their way",
        "  order: shopify 5001",
        "  opened 2026-11-23T02:00:00Z by portal, reason customer",
    ]
    assert _section(lines, "Sources")[-1].split() == [
        "1",
        "2026-11-23T02:00:00Z",
        "shopify",
        "orders/cancelled",
        "opened",
        "verified",
    ]
    assert _section(lines, "Decision") == [
        "  approve, 42.50 EUR goes back (decision 1, 2026-11-23T02:00:00Z, policy 1)",
        "    1. disputes open or lost: 0",
        "    2. scope: whole order",
        "    3. due 4250; 1 payments give back 4250",
        "    4. age 2.0 h, window 720 h",
        "    5. amount 42.50 EUR, limit 500.00 EUR",
        "    6. approve: within policy",
    ]
    table = _section(lines, "Steps")
    assert _row(table, CANCEL) == [
        CANCEL, "2", "cancel_order", "shopify", "succeeded", "gid://5001", "1", "2026-11-23T02:00:02Z",
    ]  # fmt: skip
    assert _row(table, REFUND) == [
        REFUND, "3", "refund", "stripe", "planned", "42.50", "EUR", "0", "2026-11-23T02:00:00Z",
    ]  # fmt: skip
    assert _row(_section(lines, "Payments"), "stripe:pi_1") == [
        "stripe:pi_1", "42.50", "EUR", "42.50", "EUR", "0.00", "EUR", "0.00", "EUR", "none",
    ]  # fmt: skip
    assert _section(lines, "Timeline") == [
        "  2026-11-23T02:00:00Z  case.opened  order=#1001 event_id=1  (shopify)",
        "  2026-11-23T02:00:00Z  case.decided  verdict=approve  (worker)",
        f"  2026-11-23T02:00:02Z  step.succeeded  {CANCEL}  outcome=done reference=gid://5001  (celery@a/7)",
    ]
    assert _section(lines, "Journal") == ["  no entry"]
    assert _section(lines, "Next") == ["  nothing to do"]


def test_a_held_case_names_the_two_words_a_person_can_say(desk: Desk) -> None:
    desk.open_case(policy=Policy(auto_approve_limit=(("EUR", 1000),)))

    lines = desk.lines("case", "show", CASE)

    assert lines[:2] == [
        f"{CASE}  order #1001  held",
        "  why: the amount is above the limit for automatic approval",
    ]
    assert _section(lines, "Steps") == ["  none"]
    assert _section(lines, "Next") == [
        f"  refundflow plan {CASE}",
        f'  refundflow case approve {CASE} --reason "…"',
        f'  refundflow case decline {CASE} --reason "…"',
    ]


def test_an_unknown_refund_is_told_as_uncertain_and_only_asking_is_offered(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, UNSURE, seconds=10)

    assert _section(desk.lines("case", "show", CASE), "Next") == [
        f"  {REFUND}  unknown",
        "    certain: a call went out 2026-11-23T02:00:10Z; nothing is sent again before stripe says what happened, "
        "and it is asked again after 2026-11-23T02:09:50Z",
        "    not certain: whether the refund of 42.50 EUR at stripe happened: no answer within 15 s",
        f"    next: refundflow ask {REFUND}",
    ]


def test_a_dead_refund_that_may_have_paid_is_asked_before_it_is_replayed(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, STILL_UNKNOWN, seconds=10)
    desk.move_case(CaseState.ATTENTION, f"{REFUND}: still_unknown")

    lines = desk.lines("case", "show", CASE)

    assert lines[:2] == [f"{CASE}  order #1001  attention", f"  why: {REFUND}: still_unknown"]
    assert _section(lines, "Next") == [
        f"  {REFUND}  dead_lettered",
        "    certain: 42.50 EUR stays reserved on stripe:pi_1, and nothing is paid by itself (still_unknown: looked 14 "
        "times; last: no answer)",
        "    not certain: whether stripe gave the money back",
        f"    next: refundflow ask {REFUND}",
        f'    next: refundflow replay {REFUND} --execute --reason "…"',
    ]


def test_a_refund_that_the_payer_refused_is_told_as_certain(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, REFUSED, seconds=10)
    desk.add_task("Refund 42.50 EUR by bank transfer.")

    assert _section(desk.lines("case", "show", CASE), "Next") == [
        f"  {REFUND}  dead_lettered",
        "    certain: stripe said no, so the refund of 42.50 EUR at stripe did not happen (charge_expired: the charge is "
        "too old)",
        "    not certain: nothing",
        f'    next: refundflow replay {REFUND} --execute --reason "…"',
        f'    next: refundflow dead-letters discard {REFUND} --execute --reason "…"',
        f"  {TASK}  dead_lettered",
        "    certain: a person must do this; nothing is sent by itself",
        "    not certain: whether somebody has done it already",
        f'    next: refundflow dead-letters resolve {TASK} --execute --proof "…"',
    ]


def test_a_step_whose_worker_died_says_that_the_next_one_asks_first(desk: Desk) -> None:
    desk.open_case()
    desk.claim(CANCEL, seconds=1)

    assert _section(desk.lines("case", "show", CASE), "Next") == [
        f"  {CANCEL}  in_flight",
        "    certain: its worker is gone (its hold ran out 2026-11-23T02:01:31Z); the next one asks shopify before it sends",
        "    not certain: whether the cancel order at shopify happened before the worker died",
        f"    next: refundflow ask {CANCEL}",
        "    next: refundflow doctor",
    ]


def test_a_complete_case_shows_the_booked_money_and_nothing_to_do(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, REFUNDED, seconds=10)
    desk.settle_money()
    desk.move_case(CaseState.COMPLETE, "every step has ended")

    lines = desk.lines("case", "show", CASE)

    assert lines[0] == f"{CASE}  order #1001  complete"
    assert lines[3] == (
        "  opened 2026-11-23T02:00:00Z by portal, reason customer; closed 2026-11-23T02:00:12Z"
    )
    assert _row(_section(lines, "Payments"), "stripe:pi_1")[3:7] == ["0.00", "EUR", "42.50", "EUR"]
    journal = [line.split() for line in _section(lines, "Journal")[-2:]]
    assert journal == [
        ["1", "2026-11-23T02:00:11Z", "refunds", "42.50", "EUR", "refund", "re_1"],
        ["1", "2026-11-23T02:00:11Z", "clearing:stripe", "42.50", "EUR", "refund", "re_1"],
    ]
    assert _section(lines, "Next") == ["  nothing to do"]


def test_the_document_has_stable_field_names_and_amounts_in_minor_units(desk: Desk) -> None:
    desk.open_case()
    desk.run_step(CANCEL, CANCELLED, seconds=1)
    desk.run_step(REFUND, UNSURE, seconds=10)

    result = desk.type("case", "show", CASE, "--json")
    page = json.loads(result.stdout)

    assert result.exit_code == 0
    assert list(page) == [
        "case_id", "order", "state", "why", "reason", "requested_by", "opened_at", "closed_at", "sources", "decision",
        "approvals", "steps", "payments", "timeline", "journal", "next", "case_commands",
    ]  # fmt: skip
    assert page["steps"][1] == {
        "step_key": REFUND,
        "wave": 3,
        "kind": "refund",
        "action": "refund",
        "platform": "stripe",
        "state": "unknown",
        "amount": {"minor": 4250, "currency": "EUR"},
        "reference": "",
        "code": "",
        "reason": "no answer within 15 s",
        "attempts": 1,
        "looks": 0,
        "may_have_happened": True,
        "since": "2026-11-23T02:00:11Z",
        "due_at": "2026-11-23T02:10:00Z",
        "needs": [CANCEL],
    }
    assert [n["commands"] for n in page["next"]] == [[f"refundflow ask {REFUND}"]]


def test_a_case_that_does_not_exist_is_a_usage_mistake_with_a_hint(desk: Desk) -> None:
    result = desk.type("case", "show", "RF-NOBODY")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: no case RF-NOBODY",
        "hint: `refundflow case list` shows what there is; `refundflow case list --order NUMBER` finds an order's",
    ]


def test_case_list_finds_an_order_by_its_number_without_the_hash(desk: Desk) -> None:
    desk.open_case()

    assert (
        json.loads(desk.type("case", "list", "--order", "1001", "--json").stdout)["cases"][0]["case_id"]
        == CASE
    )
    assert desk.lines("case", "list", "--order", "1002") == ["no case", ""]
    assert desk.lines("case", "list", "--state", "held") == ["no case", ""]
