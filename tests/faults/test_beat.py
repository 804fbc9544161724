"""Beat: gone for a while, or there twice."""

from __future__ import annotations

import signal
import sys

import pytest

from refundflow.embedded.supervisor import Program, Supervisor
from tests.support.live import Live, plain

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]


def test_with_beat_killed_the_sweep_goes_on_when_it_is_back(live: Live) -> None:
    [order] = live.begin(plain())
    pid = live.stack.supervisor.kill("beat", signal.SIGKILL)
    with live.no_redis():  # the request's message is lost, so only a sweep can bring it on
        assert order.ask()[0] == 202
        live.until("beat's return", lambda: _pid_of_beat(live) not in (0, pid))
    live.all_well(order, within_s=50)


def test_with_two_beats_nothing_is_done_twice(live: Live) -> None:
    orders = live.begin(*(plain(f"plain-{i}") for i in range(3)))
    schedule = live.stack.home / "second-schedule"
    second = Program("second-beat", f"{sys.executable} -m celery -A refundflow beat -s {schedule} -l WARNING")
    live.fault("stripe", "create_refund", "status", status=429, headers={"Retry-After": "1"}, times=3)
    with Supervisor([second], live.stack.home, environment=live.stack.environment, grace_s=3.0):
        live.until("the second beat", lambda: list(live.stack.home.glob("second-schedule*")))
        live.ask_all(orders)
        live.all_well(*orders)


def _pid_of_beat(live: Live) -> int:
    from refundflow.embedded.supervisor import NotRunningError

    try:
        return live.stack.supervisor.pid_of("beat")
    except NotRunningError:
        return 0
