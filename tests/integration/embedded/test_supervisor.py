"""The supervisor: restarts what ends, stops in order, and takes everything with it however it goes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from refundflow.embedded import leash
from refundflow.embedded.ports import free_port, let_go
from refundflow.embedded.supervisor import (
    Exit,
    NotReadyError,
    NotRunningError,
    ProcfileError,
    Program,
    Supervisor,
    memory_bytes,
    read_procfile,
)

pytestmark = pytest.mark.integration


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Returns as soon as the condition holds; fails the test when it never does."""
    pause, turns = threading.Event(), int(timeout_s / 0.02)
    for _ in range(turns):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("waited in vain")


def is_gone(pid: int) -> bool:
    """Ended; a zombie has ended too, and waits only for a parent that counts it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_procfile_is_read_in_order_without_comments() -> None:
    text = "# doors\nweb: gunicorn 'app:make()' --bind $HOST:$PORT\n\n money-worker: LEVEL=info celery worker -Q money\n"
    assert read_procfile(text) == (
        Program("web", "gunicorn 'app:make()' --bind $HOST:$PORT"),
        Program("money-worker", "LEVEL=info celery worker -Q money"),
    )


def test_every_problem_of_a_procfile_is_reported_at_once() -> None:
    text = "no colon here\nweb:\nweb: gunicorn app\nopen: echo 'oh\ntwo: migrate && serve\nok: sleep 1\n"
    with pytest.raises(ProcfileError) as refusal:
        read_procfile(text)
    assert refusal.value.problems == (
        "line 1: expected `name: command`",
        "line 2: no command",
        "line 3: `web` is there twice",
        "line 4: no closing quotation",
        "line 5: one program only, without `&&`",
    )


def test_a_procfile_without_a_program_is_refused() -> None:
    with pytest.raises(ProcfileError, match="line 1: no program"):
        read_procfile("# nothing\n")


def test_the_projects_own_procfile_is_readable() -> None:
    procfile = Path(__file__).parents[3] / "Procfile"
    assert len(read_procfile(procfile.read_text())) > 1


def test_a_program_gets_its_environment_and_its_output_is_kept(tmp_path: Path) -> None:
    programs = read_procfile("say: WORD=there sh -c 'echo \"$GREETING $WORD\"; echo loud >&2; exec sleep 60'")
    with Supervisor(programs, tmp_path, environment={"GREETING": "hello"}) as supervisor:
        log_file = tmp_path / "logs" / "say.log"
        assert supervisor.log_of("say") == log_file
        supervisor.wait_ready("say", lambda: "loud" in log_file.read_text())
        assert log_file.read_text() == "hello there\nloud\n"


def test_a_killed_program_is_started_again_and_told_of(tmp_path: Path) -> None:
    told: list[Exit] = []
    with Supervisor((Program("nap", "sleep 60"),), tmp_path, on_exit=told.append) as supervisor:
        first = supervisor.pid_of("nap")
        assert supervisor.kill("nap", signal.SIGKILL) == first
        wait_for(lambda: bool(told))
        supervisor.wait_ready("nap", lambda: is_running(supervisor, "nap"))
        assert supervisor.pid_of("nap") != first
        wait_for(lambda: psutil.Process(supervisor.pid_of("nap")).cmdline() == ["sleep", "60"])
    assert told == [Exit("nap", first, -signal.SIGKILL, 0.2)]
    assert supervisor.exits == tuple(told)


def is_running(supervisor: Supervisor, name: str) -> bool:
    try:
        supervisor.pid_of(name)
    except NotRunningError:
        return False
    return True


def test_a_command_may_say_exec_itself(tmp_path: Path) -> None:
    with Supervisor((Program("nap", "exec sleep ${NAP_S:-60}"),), tmp_path) as supervisor:
        pid = supervisor.pid_of("nap")
        wait_for(lambda: psutil.Process(pid).cmdline() == ["sleep", "60"])


def test_one_program_that_ends_leaves_the_others_running(tmp_path: Path) -> None:
    programs = (Program("nap", "sleep 60"), Program("brief", "sh -c 'exit 3'"))
    with Supervisor(programs, tmp_path) as supervisor:
        nap = supervisor.pid_of("nap")
        wait_for(lambda: len(supervisor.exits) >= 3)
        assert supervisor.pid_of("nap") == nap
    assert [(each.name, each.status, each.restart_in_s) for each in supervisor.exits[:3]] == [
        ("brief", 3, 0.2),
        ("brief", 3, 0.4),
        ("brief", 3, 0.8),
    ]


def test_a_program_that_does_not_exist_is_told_of_and_tried_again(tmp_path: Path) -> None:
    with Supervisor((Program("none", "no-such-program-here"),), tmp_path) as supervisor:
        wait_for(lambda: len(supervisor.exits) >= 2)
    assert {each.status for each in supervisor.exits} == {127}


def test_what_a_killed_program_left_in_its_group_is_swept_up_before_the_restart(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = f"sh -c 'sleep 60 & echo $! >> {pids}; wait'"
    with Supervisor((Program("parent", command),), tmp_path) as supervisor:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 1)
        supervisor.kill("parent", signal.SIGKILL, is_whole_group=False)
        wait_for(lambda: len(pids.read_text().split()) == 2)
        assert is_gone(int(pids.read_text().split()[0]))
    assert is_gone(int(pids.read_text().split()[1]))


def test_programs_stop_in_reverse_order_and_the_stubborn_are_killed(tmp_path: Path) -> None:
    order = tmp_path / "order"
    polite = "sh -c 'trap \"echo {0} >> {1}; exit 0\" TERM; echo ready; while :; do sleep 0.05; done'"
    programs = (
        Program("first", polite.format("first", order)),
        Program("second", polite.format("second", order)),
        Program("stubborn", "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.05; done'"),
    )
    with Supervisor(programs, tmp_path, grace_s=0.5) as supervisor:
        for name in supervisor.names:
            supervisor.wait_ready(name, lambda name=name: "ready" in supervisor.log_of(name).read_text())
        pids = [supervisor.pid_of(name) for name in supervisor.names]
    assert order.read_text() == "second\nfirst\n"
    assert [psutil.pid_exists(pid) for pid in pids] == [False, False, False]
    assert supervisor.exits == ()
    with pytest.raises(NotRunningError):
        supervisor.pid_of("first")


def test_a_program_that_never_gets_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    with Supervisor((Program("brief", "sh -c 'echo the reason; exit 1'"),), tmp_path) as supervisor:
        with pytest.raises(NotReadyError) as refusal:
            supervisor.wait_ready("brief", lambda: False, timeout_s=0.5)
        assert refusal.value.exits >= 1
        assert "the reason" in refusal.value.log_tail


def test_a_stopped_supervisor_can_start_again(tmp_path: Path) -> None:
    supervisor = Supervisor((Program("nap", "sleep 60"),), tmp_path)
    with supervisor:
        first = supervisor.pid_of("nap")
    with supervisor:
        assert supervisor.pid_of("nap") != first


def test_memory_counts_descendants_and_shares_what_is_shared(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'import os, signal; os.fork(); print(1, flush=True); signal.pause()'"
    with Supervisor((Program("pair", command),), tmp_path) as supervisor:
        supervisor.wait_ready("pair", lambda: supervisor.log_of("pair").read_text() == "1\n1\n")
        pid = supervisor.pid_of("pair")
        (child,) = psutil.Process(pid).children()
        resident = psutil.Process(pid).memory_info().rss + child.memory_info().rss
        used = supervisor.memory_bytes()
        assert 1_000_000 < used <= resident
    assert memory_bytes([pid]) == 0


_OWNER = """
import pathlib, signal, sys
from refundflow.embedded.supervisor import Program, Supervisor
programs = (
    Program("plain", "sleep 300"),
    Program("family", "sh -c 'sleep 301 & echo $!; wait'"),
    Program("stubborn", "sh -c 'trap \\"\\" TERM; echo ready; while :; do sleep 0.05; done'"),
)
with Supervisor(programs, pathlib.Path(sys.argv[1])) as supervisor:
    supervisor.wait_ready("stubborn", lambda: "ready" in supervisor.log_of("stubborn").read_text())
    supervisor.wait_ready("family", lambda: bool(supervisor.log_of("family").read_text().strip()))
    grandchild = supervisor.log_of("family").read_text().split()[0]
    print(*[supervisor.pid_of(name) for name in supervisor.names], grandchild, flush=True)
    {then}
"""


def _start_owner(folder: Path, then: str) -> tuple[subprocess.Popen[str], list[int]]:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER.format(then=then), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    with owner.stdout:
        pids = [int(word) for word in owner.stdout.readline().split()]
    assert len(pids) == 4
    assert not any(is_gone(pid) for pid in pids)
    return owner, pids


def test_children_and_grandchildren_die_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    owner, pids = _start_owner(tmp_path, then="signal.pause()")
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_for(lambda: all(is_gone(pid) for pid in pids))


def test_children_die_though_a_fork_of_the_supervisor_lives_on(tmp_path: Path) -> None:
    fork_file = tmp_path / "fork"
    then = f"import os; pid = os.fork(); pid and pathlib.Path('{fork_file}').write_text(str(pid)); signal.pause()"
    owner, pids = _start_owner(tmp_path, then=then)
    wait_for(lambda: fork_file.exists() and fork_file.read_text() != "")
    fork = int(fork_file.read_text())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait_for(lambda: all(is_gone(pid) for pid in pids))
    assert not is_gone(fork)
    os.kill(fork, signal.SIGKILL)


def test_a_killed_watcher_is_replaced_and_told_everything(tmp_path: Path) -> None:
    script = (
        "import pathlib, psutil, signal, subprocess, sys\n"
        "from refundflow.embedded.supervisor import Program, Supervisor\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "one = Supervisor((Program('one', 'sleep 300'),), folder / 'one').start()\n"
        "watcher = [c for c in psutil.Process().children() if 'leash.py' in ' '.join(c.cmdline())][0]\n"
        "watcher.kill()\n"
        "watcher.wait()\n"
        "two = Supervisor((Program('two', 'sleep 300'),), folder / 'two').start()\n"
        "print(one.pid_of('one'), two.pid_of('two'), flush=True)\n"
        "signal.pause()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    with owner.stdout:
        pids = [int(word) for word in owner.stdout.readline().split()]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert len(pids) == 2
    wait_for(lambda: all(is_gone(pid) for pid in pids))


def test_a_process_nobody_stopped_is_gone_when_its_owner_has_ended_normally(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from refundflow.embedded.leash import launch\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "made = launch(['sleep', '300'], log=folder / 'log', environment=dict(os.environ), folder=folder)\n"
        "print(made.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )
    assert is_gone(int(done.stdout))


def test_a_process_that_was_swept_up_is_never_signalled_again(tmp_path: Path) -> None:
    process = leash.launch(["true"], log=tmp_path / "log", environment=dict(os.environ), folder=tmp_path)
    assert leash.sweep_up(process) == 0
    # Its number now belongs, as far as anyone can tell, to a stranger that leads a group.
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    process.pid = stranger.pid
    assert leash.end(process, signal.SIGTERM, grace_s=1.0) == 0
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux lets a server listen where a socket holds the port"
)
def test_a_held_port_is_given_to_nobody_else_and_a_server_may_listen_on_it() -> None:
    port = free_port()
    stranger = socket.socket()
    with stranger, pytest.raises(OSError, match="Address already in use"):
        stranger.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    let_go(port)


def test_many_ports_are_all_different() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    for port in ports:
        let_go(port)
