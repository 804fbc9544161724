"""A worker dies, at every seam of a step's run: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.support.live import Live, plain

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]

_SEAMS = ("before_claim", "in_claim", "before_call", "after_call", "in_record", "after_record")


@pytest.mark.parametrize(
    ("seam", "how"),
    [
        # A dead child where its worker lives on, and a dead worker where it held a lease; the other pairs in the campaign.
        *((seam, "child") for seam in ("before_claim", "after_call", "in_record")),
        *((seam, "worker") for seam in ("before_call", "after_call")),
        *(
            pytest.param(seam, "child", marks=pytest.mark.campaign)
            for seam in _SEAMS
            if seam not in ("before_claim", "after_call", "in_record")
        ),
        pytest.param("in_record", "worker", marks=pytest.mark.campaign),
        # Where no lease is held a dead worker is a message that comes back, as with a dead child, only later.
        *(
            pytest.param(seam, "worker", marks=pytest.mark.campaign)
            for seam in ("before_claim", "in_claim", "after_record")
        ),
    ],
)
def test_a_cancel_and_a_refund_whose_workers_die_at_a_seam_are_carried_out_exactly_once(
    seamed: Live, seam: str, how: str
) -> None:
    [order] = seamed.begin(plain())
    seamed.arm(seam, "cancel_order", how)
    seamed.arm(seam, "refund", how)
    order.ask()
    seamed.all_well(order)
    assert seamed.reached() == [f"{seam} cancel_order", f"{seam} refund"]
    crashes = 1 if seam in ("before_call", "after_call", "in_record") else 0
    assert [order.step(action)["crashes"] for action in ("cancel_order", "refund")] == [crashes, crashes]


@pytest.mark.parametrize("how", ["child", pytest.param("worker", marks=pytest.mark.campaign)])
@pytest.mark.parametrize(
    ("vendor", "operation", "action", "queue"),
    [("stripe", "create_refund", "refund", "money"), ("shopify", "orderCancel", "cancel_order", "work")],
    ids=["refund", "cancel"],
)
@pytest.mark.parametrize("has_acted", [False, True], ids=["before the act", "after the act"])
def test_a_worker_killed_while_the_vendor_holds_its_call_is_followed_by_one_that_looks(
    live: Live, vendor: str, operation: str, action: str, queue: str, how: str, has_acted: bool
) -> None:
    [order] = live.begin(plain())
    if has_acted:
        live.fault(vendor, operation, "lost_reply", how="hang", hold_s=2)
        order.ask()
        live.until("the vendor's act", lambda: live.book(vendor, action))
    else:
        # The vendor acts after the worker's death: by the time its lease has run out the book has it.
        live.fault(vendor, operation, "latency", latency_s=0.9)
        order.ask()
        live.until("the call's arrival", lambda: not live.faults_waiting())
    # A mail that dies with its worker would be looked for in Mailgun for five minutes: this is about something else.
    live.until("the first mail", lambda: order.is_in("send_message", "succeeded"))
    assert order.is_in(action, "in_flight")
    if how == "worker":
        live.kill_worker(queue)
    else:
        live.kill_children(queue)
    live.all_well(order)
    assert order.step(action)["crashes"] == 1
    assert len(live.calls(vendor, operation)) == 1


def test_a_step_that_keeps_killing_its_workers_is_parked_and_a_replay_asks_before_it_pays(
    seamed: Live,
) -> None:
    [order] = seamed.begin(plain())
    seamed.arm("before_call-before_look", "refund", "child", times=100)
    order.ask()
    seamed.until("the step parked", lambda: order.is_in("refund", "dead_lettered"), 60)
    seamed.until_quiet()
    step = order.step("refund")
    assert (step["code"], step["is_reserved"], step["may_have_happened"]) == ("kills_worker", True, True)
    assert order.refunds() == []
    assert order.case()["state"] == "attention"
    assert seamed.rows("SELECT reserved, settled FROM payments") == [{"reserved": 1780, "settled": 0}]
    assert len(seamed.reached()) == 3
    seamed.agree()

    seamed.open_gates()
    replayed_at = datetime.now(UTC).isoformat()
    done = seamed.stack.cli("replay", step["step_key"], "--execute", "--reason", "the worker was mended")
    assert done.returncode == 0, done.stderr
    seamed.all_well(order)
    asked = [call["at"] for call in seamed.calls("stripe", "list_refunds")]
    [paid] = [call["at"] for call in seamed.calls("stripe", "create_refund")]
    assert len([at for at in asked if replayed_at < at < paid]) >= 1


@pytest.mark.campaign
def test_a_parked_refund_that_the_vendor_has_made_after_all_is_found_by_the_replay(seamed: Live) -> None:
    [order] = seamed.begin(plain())
    seamed.arm("after_call-before_look", "refund", "child", times=100)
    order.ask()
    seamed.until("the step parked", lambda: order.is_in("refund", "dead_lettered"), 60)
    step = order.step("refund")
    assert (step["code"], step["is_reserved"]) == ("kills_worker", True)
    assert order.refunds() == [(1780, "EUR", step["step_key"])]
    seamed.open_gates()
    done = seamed.stack.cli("replay", step["step_key"], "--execute", "--reason", "the worker was mended")
    assert done.returncode == 0, done.stderr
    seamed.all_well(order)
    assert len(seamed.calls("stripe", "create_refund")) == 1


def test_a_killed_workers_attempts_stay_in_the_audit_and_verify(seamed: Live) -> None:
    [order] = seamed.begin(plain())
    seamed.arm("after_call", "refund", "worker")
    order.ask()
    seamed.all_well(order)
    phases = seamed.rows(
        "SELECT phase, move, outcome FROM attempts WHERE step_key = :key ORDER BY id",
        key=order.step("refund")["step_key"],
    )
    assert [(p["phase"], p["move"], p["outcome"]) for p in phases] == [
        ("claimed", "send", ""),
        ("claimed", "look", ""),
        ("ended", "look", "done"),
    ]
    verified = seamed.stack.cli("audit", "verify", "--json")
    assert verified.returncode == 0, json.dumps([verified.stdout, verified.stderr])
