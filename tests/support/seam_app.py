"""The workers' application with faults built in: `celery -A tests.support.seam_app worker …`.

It is refundflow's own application, with a gate at each seam of `run_step`. A gate is open unless a file
`armed-<action>-<seam>….json` lies in `REFUNDFLOW_SEAMS`: then whoever runs a step of that action is killed or held there, so
many times. Taking the file is one rename, so that of several processes exactly one is hit. Nothing of ours is replaced: each gate calls what it stands
before or behind.

    before_claim    the step is decided upon, nothing is written
    in_claim        the claim is written, and not committed
    before_call     the claim is committed, the vendor not called
    after_call      the vendor has answered, nothing is recorded
    in_record       the outcome is written, and not committed
    after_record    the outcome is committed, the message not acknowledged

Practice vendors show their books at once, so an absence is believed after two seconds here instead of minutes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from refundflow.connectors import mailgun, shopify, slack, stripe, xero
from refundflow.flow import act, run_step
from refundflow.store import steps
from refundflow.tasks.app import app

__all__ = ["app"]

_FOLDER = Path(os.environ["REFUNDFLOW_SEAMS"])
_LONGEST_HOLD_S = 20.0
_SHOWN_AFTER_S = 2.0

for _vendor, _delay in (
    (stripe, "CONCLUSIVE_S"),
    (shopify, "_CANCEL_SETTLED_S"),
    (shopify, "_REFUND_SETTLED_S"),
    (xero, "_SETTLED_S"),
    (mailgun, "_SETTLED_S"),
    (slack, "_SETTLED_S"),
):
    assert getattr(_vendor, _delay) >= _SHOWN_AFTER_S, f"{_vendor.__name__}.{_delay} is gone or shorter"
    setattr(_vendor, _delay, _SHOWN_AFTER_S)


def gate(seam: str, action: str) -> None:
    """Does what is armed for this seam and action, if anything is."""
    for armed in sorted(_FOLDER.glob("armed-*.json")):
        # The name says what it is for, so that only whoever it is for takes it.
        _, for_action, *for_seams = armed.stem.split("-")
        if seam in for_seams and for_action == action:
            break
    else:
        return
    taken = _FOLDER / f"taken-{os.getpid()}-{threading.get_native_id()}.json"
    try:
        armed.rename(taken)
    except FileNotFoundError:
        return  # somebody else was faster
    order = json.loads(taken.read_text(encoding="utf-8"))
    with (_FOLDER / "reached").open("a", encoding="utf-8") as note:
        note.write(f"{seam} {action}\n")
    if order["times"] > 1:
        taken.write_text(json.dumps({**order, "times": order["times"] - 1}), encoding="utf-8")
        taken.rename(armed)
    else:
        taken.unlink()
    match order["how"]:
        case "child":
            os.kill(os.getpid(), signal.SIGKILL)
        case "worker":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        case "hold":
            pause = threading.Event()
            for _ in range(int(_LONGEST_HOLD_S / 0.02)):
                if (_FOLDER / "go").exists():
                    return
                pause.wait(0.02)
        case how:
            raise ValueError(f"a gate kills the child or the worker, or holds, and does not {how}")


_run_step, _claim, _send, _look, _record = (
    run_step.run_step,
    run_step._claim,
    act.send,
    act.look,
    steps.record,
)


def _gated_claim(context: Any, connection: Any, step: Any, command: Any, move: Any, by: Any) -> Any:
    gate("before_claim", step.action)
    claimed = _claim(context, connection, step, command, move, by)
    gate("in_claim", step.action)
    return claimed


def _gated_send(platforms: Any, step: Any, command: Any) -> Any:
    gate("before_call", step.action)
    answer = _send(platforms, step, command)
    gate("after_call", step.action)
    return answer


def _gated_look(platforms: Any, step: Any, command: Any) -> Any:
    gate("before_look", step.action)
    return _look(platforms, step, command)


def _gated_record(connection: Any, step: Any, *rest: Any, **more: Any) -> Any:
    is_recorded = _record(connection, step, *rest, **more)
    gate("in_record", step.action)
    return is_recorded


def _gated_run(context: Any, step_key: Any, runner: Any) -> Any:
    report = _run_step(context, step_key, runner)
    if report.state is not None and report.move.value in ("send", "look"):
        step = context.db.run(lambda connection: steps.load(connection, step_key))
        gate("after_record", step.action if step else "")
    return report


run_step._claim = _gated_claim
run_step.run_step = _gated_run
act.send = _gated_send
act.look = _gated_look
steps.record = _gated_record
