"""Starts processes that end when we end, however we ended.

A small second process, the watcher, holds the other end of a pipe of ours. When we are gone, even by `kill -9`, the pipe
closes: the watcher signals every process group it was told of, waits, and kills what is left. One watcher serves a whole
Python process. It is this file run by path with the bare standard library, so that it is light and starts quickly.

`PR_SET_PDEATHSIG` was turned down: it follows the *thread* that started a child, knows no grandchildren, has no second
word after a signal that is ignored, and exists on Linux alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

GRACE_S: Final = 5.0
"""How long a process may take to end of itself once its owner is gone."""
_LOOK_S: Final = 1.0
_POLL_S: Final = 0.02


def launch(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    folder: Path,
    last_signal: signal.Signals = signal.SIGTERM,
    user: int | None = None,
    group: int | None = None,
    keep_open: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts `command` in a session and process group of its own, its output appended to `log`, tied to our life.

    `environment` is the whole of it. `last_signal` is what the watcher sends first when we are gone. `user` and `group`:
    numbers to run as, for root only. `keep_open`: file descriptors that the process inherits.
    Raises OSError when the program cannot be started.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            pass_fds=tuple(keep_open),
        )
    _leash.tie(process.pid, last_signal)
    return process


def end(process: subprocess.Popen[bytes], first_signal: signal.Signals, grace_s: float) -> int:
    """Ends a launched process: the signal, then after `grace_s` SIGKILL for its whole group. Gives its exit status."""
    signal_group(process, first_signal)
    # A process that is stopped takes a signal only once it runs again.
    signal_group(process, signal.SIGCONT)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        signal_group(process, signal.SIGKILL)
    return sweep_up(process)


def sweep_up(process: subprocess.Popen[bytes]) -> int:
    """Waits for a launched process, kills what it left behind in its group, and unties it. Gives its exit status.

    Once a process is untied this signals nobody: by then its number may belong to a stranger.
    """
    status = process.wait()
    if _leash.untie(process.pid):
        # While one member lives the group's number is not given to anyone else; without members this finds nobody.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return status


def signal_group(process: subprocess.Popen[bytes], what: signal.Signals) -> None:
    """Signals a launched process and all of its group; one that has ended is left in peace."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, what)


class _Leash:
    """Our end of the pipe. Started on first use, once per process: after a fork the child starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ties: dict[int, int] = {}
        self._watcher: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def tie(self, pid: int, last_signal: signal.Signals) -> None:
        with self._lock:
            if self._owner != os.getpid():
                self._owner, self._watcher, self._ties = os.getpid(), None, {}
                atexit.register(self._close)
            self._ties[pid] = int(last_signal)
            self._say(f"{pid} {int(last_signal)}\n")

    def untie(self, pid: int) -> bool:
        """Whether it was tied until now."""
        with self._lock:
            if self._owner != os.getpid() or self._ties.pop(pid, None) is None:
                return False
            self._say(f"{pid} 0\n")
            return True

    def _say(self, line: str) -> None:
        if self._watcher is not None and self._watcher.poll() is None:
            try:
                self._write(line)
            except BrokenPipeError:
                self._watcher.wait()
            else:
                return
        # None yet, or someone killed it: a new one is told everything that is tied now.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,
        )
        self._write("".join(f"{pid} {last}\n" for pid, last in self._ties.items()))

    def _write(self, lines: str) -> None:
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.write(lines.encode())

    def _close(self) -> None:
        """At an ordinary exit the watcher ends what nobody stopped, and we wait for it, so that nothing is left."""
        if self._owner == os.getpid() and self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.close()
            for pid in self._ties if self._watcher.poll() is None else ():
                # Counted here, since the watcher cannot tell one that has ended and is not counted from one that lives.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._watcher.wait(GRACE_S * 2)


_leash = _Leash()


def _watch(owner: int) -> None:
    """The watcher's life: hear of groups until the owner is gone, then end them.

    The owner's death shows twice, as the end of the pipe and as a new parent. The second is there for a process that
    the owner forked and that still holds our pipe open.
    """
    for harmless in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(harmless, signal.SIG_IGN)
    os.set_blocking(0, False)
    ties: dict[int, int] = {}
    unread, is_open = b"", True
    while is_open:
        # Asked before reading: what the owner wrote is then all there, and is read once more.
        is_alone = os.getppid() != owner
        if select.select([0], [], [], 0 if is_alone else _LOOK_S)[0]:
            chunk = os.read(0, 65536)
            *lines, unread = (unread + chunk).split(b"\n")
            for line in lines:
                pid, last_signal = map(int, line.split())
                if last_signal:
                    ties[pid] = last_signal
                else:
                    ties.pop(pid, None)
            is_open = bool(chunk)
        elif is_alone:
            is_open = False
    _end_all(ties)


def _end_all(ties: Mapping[int, int]) -> None:
    alive = {pid for pid, last_signal in ties.items() if _has_heard(pid, last_signal)}
    for pid in alive:
        _has_heard(pid, signal.SIGCONT)
    deadline = time.monotonic() + GRACE_S
    pause = threading.Event()
    while alive and time.monotonic() < deadline:
        pause.wait(_POLL_S)
        alive = {pid for pid in alive if _has_heard(pid, 0)}
    for pid in alive:
        _has_heard(pid, signal.SIGKILL)


def _has_heard(pid: int, what: int) -> bool:
    """Whether the group was there to take the signal; 0 only asks."""
    try:
        os.killpg(pid, what)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
