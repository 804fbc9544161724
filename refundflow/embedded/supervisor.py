"""Keeps the programs of a Procfile running: each in a process group of its own, started again when it ends.

Errors: `ProcfileError` (all problems at once, by line), `NotReadyError` (with the end of the program's log),
`NotRunningError` (no process under that name just now). Why no library: `docs/decisions/0001-servers-from-wheels.md`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psutil

from refundflow.embedded.leash import end, launch, signal_group, sweep_up
from refundflow.observe import logger

log = logger(__name__)

FIRST_DELAY_S: Final = 0.2
LAST_DELAY_S: Final = 5.0
_STEADY_S: Final = 10.0
"""A process that ran for this long is well: its next restart waits the first delay again."""
_POLL_S: Final = 0.1
_LINE: Final = re.compile(r"([A-Za-z0-9_-]+):\s*(.*)")
_OPERATORS: Final = frozenset({"&&", "||", "|", ";", "&", "(", ")", ";;", "|&"})


class ProcfileError(ValueError):
    """A Procfile that cannot be run. `problems`: one sentence each, led by its line number."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(self.problems)


class NotReadyError(Exception):
    """A program did not become ready in time. `exits`: how often it ended meanwhile; `log_tail`: its last lines."""

    def __init__(self, name: str, exits: int, log_tail: str) -> None:
        super().__init__(name, exits, log_tail)
        self.name = name
        self.exits = exits
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"{self.name} is not ready (ended {self.exits} times)\n{self.log_tail}"


class NotRunningError(Exception):
    """The program has no process just now: it waits for its restart, or was never started."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Program:
    """One line of a Procfile. `command`: a program and its arguments, in the shell's words; `$VARIABLES` are filled in."""

    name: str
    command: str


@dataclass(frozen=True, slots=True)
class Exit:
    """A process that ended while it should have run. `status`: its exit status, or minus the signal that ended it."""

    name: str
    pid: int
    status: int
    restart_in_s: float


def read_procfile(text: str) -> tuple[Program, ...]:
    """The programs in the order of the file. Blank lines and lines that begin with `#` are left out.

    Raises ProcfileError: a line without a name or a command, a name twice, open quotes, no program at all, or a command
    that the shell would take for several (`a && b`), since only one process can be watched, signalled and measured.
    """
    programs: dict[str, Program] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            problems.append(f"line {number}: expected `name: command`")
            continue
        name, command = match[1], match[2]
        if name in programs:
            problems.append(f"line {number}: `{name}` is there twice")
        problem = _problem_of(command)
        if problem:
            problems.append(f"line {number}: {problem}")
        programs[name] = Program(name, command)
    if not programs and not problems:
        problems.append("line 1: no program")
    if problems:
        raise ProcfileError(tuple(problems))
    return tuple(programs.values())


def _problem_of(command: str) -> str | None:
    words = shlex.shlex(command, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    try:
        found = list(words)
    except ValueError as open_quotes:
        return str(open_quotes).lower()
    if not found:
        return "no command"
    operators = [word for word in found if word in _OPERATORS]
    return f"one program only, without `{operators[0]}`" if operators else None


@dataclass(slots=True)
class _Child:
    program: Program
    log_file: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None
    keeper: threading.Thread | None = None


class Supervisor:
    """Runs programs until it is stopped; it never gives up on one, and tells of every end.

    Each one's output goes to `folder/logs/<name>.log`. `environment` is laid over ours. Programs run in `working_folder`
    (default: the folder we are in). `grace_s`: how long each may take to stop. `on_exit` is called from a thread of the
    supervisor's. Programs end with the supervisor's process even when it is killed.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
        grace_s: float = 10.0,
        on_exit: Callable[[Exit], None] | None = None,
    ) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self._working_folder = (working_folder or Path.cwd()).absolute()
        self._grace_s = grace_s
        self._on_exit = on_exit
        self._logs = folder.absolute() / "logs"
        self._children = {
            program.name: _Child(program, self._logs / f"{program.name}.log") for program in programs
        }
        self._exits: list[Exit] = []
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Starts every program, in order; each is started at least once when this returns. A stopped one can start again.

        A program that cannot be started is no error here: it ends at once, is told of, and is tried again.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        self._stopping.clear()
        for child in self._children.values():
            self._launch(child)
            child.keeper = threading.Thread(
                target=self._keep, args=(child,), name=f"keeper-{child.program.name}", daemon=True
            )
            child.keeper.start()
        return self

    def stop(self) -> None:
        """Ends every program, the last first: SIGTERM, after the grace SIGKILL. Returns when all are gone."""
        self._stopping.set()
        for child in reversed(self._children.values()):
            with child.lock:
                process, child.process = child.process, None
            if process is not None:
                end(process, signal.SIGTERM, self._grace_s)
            if child.keeper is not None:
                child.keeper.join()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._children)

    @property
    def exits(self) -> tuple[Exit, ...]:
        """Every end that nobody asked `stop` for, oldest first."""
        return tuple(self._exits)

    def log_of(self, name: str) -> Path:
        return self._children[name].log_file

    def pid_of(self, name: str) -> int:
        """Raises NotRunningError, and KeyError for a name that is not in the Procfile."""
        return self._running(name).pid

    def kill(self, name: str, what: signal.Signals, *, is_whole_group: bool = True) -> int:
        """Signals a program, with all processes of its group or the first alone, and gives the first one's id.

        Raises NotRunningError, and KeyError for a name that is not in the Procfile.
        """
        process = self._running(name)
        if is_whole_group:
            signal_group(process, what)
        else:
            process.send_signal(what)
        return process.pid

    def wait_ready(self, name: str, probe: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Returns once `probe` says yes; it is asked ten times a second and should not raise. Raises NotReadyError."""
        child = self._children[name]
        deadline = time.monotonic() + timeout_s
        while not probe():
            if time.monotonic() > deadline or self._stopping.wait(_POLL_S):
                ends = sum(1 for each in self._exits if each.name == name)
                raise NotReadyError(name, ends, _tail(child.log_file))

    def memory_bytes(self) -> int:
        """What all programs use together, with their descendants. See `memory_bytes` below."""
        running = [child.process for child in self._children.values()]
        return memory_bytes(process.pid for process in running if process is not None)

    def _running(self, name: str) -> subprocess.Popen[bytes]:
        process = self._children[name].process
        if process is None or process.poll() is not None:
            raise NotRunningError(name)
        return process

    def _launch(self, child: _Child) -> subprocess.Popen[bytes] | None:
        """None once the supervisor is stopping: nothing starts behind `stop`'s back."""
        with child.lock:
            if self._stopping.is_set():
                return None
            child.process = launch(
                # `exec` makes the program itself our child and not a shell; `env` allows `NAME=value program`.
                ["/bin/sh", "-c", f"exec env {child.program.command.removeprefix('exec ')}"],
                log=child.log_file,
                environment=self._environment,
                folder=self._working_folder,
            )
            return child.process

    def _keep(self, child: _Child) -> None:
        process, started, delay_s = child.process, time.monotonic(), FIRST_DELAY_S
        while process is not None:
            process.wait()
            if self._stopping.is_set():
                return
            status = sweep_up(process)
            if time.monotonic() - started > _STEADY_S:
                delay_s = FIRST_DELAY_S
            self._tell(Exit(child.program.name, process.pid, status, delay_s))
            if self._stopping.wait(delay_s):
                return
            delay_s = min(delay_s * 2, LAST_DELAY_S)
            process, started = self._launch(child), time.monotonic()

    def _tell(self, exit_: Exit) -> None:
        self._exits.append(exit_)
        log.warning(
            "process.ended",
            name=exit_.name,
            pid=exit_.pid,
            status=exit_.status,
            restart_in_s=exit_.restart_in_s,
        )
        if self._on_exit is not None:
            self._on_exit(exit_)


def memory_bytes(pids: Iterable[int]) -> int:
    """What the processes and all their descendants use together, in bytes.

    Linux: the proportional set size, in which a page shared by n processes counts one n-th for each. Elsewhere, and where
    the kernel does not tell, the resident set size, which counts shared pages once for every process.
    """
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += _memory_of(process)
    return total


def _memory_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _tail(log_file: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(log_file.read_text(errors="replace").splitlines()[-20:])
    return ""
