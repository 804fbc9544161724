"""The embedded PostgreSQL: starts, keeps its promises, and shares a machine with others."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from refundflow.embedded.postgres import EmbeddedPostgres, NotOursError, PostgresStartError

pytestmark = pytest.mark.integration


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        yield Path(name)


def ask(url: str, statement: str) -> object:
    """The first value of the first row, over a connection of its own; commits."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        return connection.execute(text(statement)).scalar()


def write(url: str, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_it_answers_over_sqlalchemy_and_ends_when_stopped(folder: Path) -> None:
    server = EmbeddedPostgres(folder, is_throwaway=True)
    with server:
        assert server.url.startswith("postgresql+psycopg2://")
        assert ask(server.url, "SELECT current_database()") == "refundflow"
        pid = server.pid
        assert pid is not None
        assert psutil.Process(pid).name() == "postgres"
    assert server.pid is None
    assert not psutil.pid_exists(pid)


def test_it_is_safe_against_power_loss_unless_throwaway(folder: Path) -> None:
    with EmbeddedPostgres(folder / "kept") as kept, EmbeddedPostgres(folder / "x", is_throwaway=True) as gone:
        settings = ("fsync", "full_page_writes", "synchronous_commit")
        assert [ask(kept.url, f"SHOW {name}") for name in settings] == ["on", "on", "on"]
        assert [ask(gone.url, f"SHOW {name}") for name in settings] == ["off", "off", "on"]


def test_it_listens_on_no_port(folder: Path) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as server:
        assert server.pid is not None
        # Whatever the server listens on is the postmaster's; its short-lived children only inherit it.
        assert psutil.Process(server.pid).net_connections(kind="inet") == []


@pytest.mark.parametrize("is_immediate", [False, True], ids=["fast", "immediate"])
def test_committed_rows_survive_a_restart_on_the_same_url(folder: Path, is_immediate: bool) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as server:
        url, first_pid = server.url, server.pid
        write(url, "CREATE TABLE refunds AS SELECT 4250 AS minor")
        server.restart(is_immediate=is_immediate)
        assert server.url == url
        assert server.pid != first_pid
        assert ask(url, "SELECT sum(minor) FROM refunds") == 4250


def test_a_restart_breaks_open_connections(folder: Path) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as server:
        engine = create_engine(server.url)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            server.restart()
            with pytest.raises(Exception, match=r"terminating connection|closed the connection"):
                connection.execute(text("SELECT 1"))
            connection.invalidate()
        engine.dispose()


def test_rows_survive_a_stop_and_a_later_start_by_another(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        write(server.url, "CREATE TABLE refunds AS SELECT 4250 AS minor")
    with EmbeddedPostgres(folder) as later:
        assert ask(later.url, "SELECT sum(minor) FROM refunds") == 4250


def test_a_second_start_on_the_folder_joins_and_leaves_the_server_running(folder: Path) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as first:
        second = EmbeddedPostgres(folder).start()
        assert (second.pid, second.url) == (first.pid, first.url)
        assert (first.is_owner, second.is_owner) == (True, False)
        with pytest.raises(NotOursError):
            second.restart()
        second.stop()
        assert ask(first.url, "SELECT 1") == 1


def test_two_servers_run_side_by_side(folder: Path) -> None:
    with (
        EmbeddedPostgres(folder / "a", is_throwaway=True) as one,
        EmbeddedPostgres(folder / "b", is_throwaway=True) as two,
    ):
        write(one.url, "CREATE TABLE only_here (x int)")
        assert one.pid != two.pid
        assert ask(one.url, "SELECT to_regclass('only_here')::text") == "only_here"
        assert ask(two.url, "SELECT to_regclass('only_here')::text") is None


def test_a_path_too_long_for_a_socket_is_served_from_a_private_folder(folder: Path) -> None:
    with EmbeddedPostgres(folder / ("long" * 25) / "with space", is_throwaway=True) as server:
        url = server.url
        assert len(url) < 120
        assert ask(url, "SELECT 1") == 1
        assert (Path(url.split("host=")[1]).stat().st_mode & 0o777) == 0o700
        server.restart()
        assert server.url == url
        with EmbeddedPostgres(server.data_dir) as joined:
            assert joined.url == url


def test_a_data_folder_with_spaces_and_quotes_works(folder: Path) -> None:
    with EmbeddedPostgres(folder / "a shop's data", is_throwaway=True) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_a_half_made_cluster_is_made_anew(folder: Path) -> None:
    (folder / "pgdata.making").mkdir()
    (folder / "pgdata.making" / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(folder, is_throwaway=True) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_data_of_an_unknown_version_is_refused_and_left_alone(folder: Path) -> None:
    (folder / "pgdata").mkdir()
    (folder / "pgdata" / "PG_VERSION").write_text("9")
    with pytest.raises(PostgresStartError, match="was made by PostgreSQL 9"):
        EmbeddedPostgres(folder).start()
    assert [path.name for path in (folder / "pgdata").iterdir()] == ["PG_VERSION"]


def test_a_failed_start_tells_the_end_of_the_log(folder: Path) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as server:
        pgdata = server.pgdata
    (pgdata / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(PostgresStartError) as refusal:
        EmbeddedPostgres(folder).start()
    assert "no_such_setting" in refusal.value.log_tail


def test_databases_are_made_once(folder: Path) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as server:
        url = server.create_database('odd "name"')
        assert server.create_database('odd "name"') == url
        assert ask(url, "SELECT current_database()") == 'odd "name"'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
def test_as_root_the_server_runs_as_nobody_and_no_user_is_added(folder: Path) -> None:
    users = [each.pw_name for each in pwd.getpwall()]
    private = folder / "home"
    private.mkdir(mode=0o700)
    with EmbeddedPostgres(private / "data", is_throwaway=True) as server:
        assert server.pid is not None
        assert psutil.Process(server.pid).username() == "nobody"
        assert ask(server.url, "SELECT 1") == 1
    assert [each.pw_name for each in pwd.getpwall()] == users
    # Only the right to pass was given, not the right to list.
    assert private.stat().st_mode & 0o777 == 0o701


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_an_ordinary_user_the_server_runs_as_that_user(folder: Path) -> None:
    account = pwd.getpwnam("nobody")
    os.chown(folder, account.pw_uid, account.pw_gid)
    # The first server, started as root, also opens the way to a checkout that only root may enter.
    program = (
        "import os, sys, pathlib\n"
        "from refundflow.embedded.postgres import EmbeddedPostgres\n"
        "from refundflow.observe import set_up_logs\n"
        "set_up_logs()\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "EmbeddedPostgres(folder / 'as root', is_throwaway=True).start().stop()\n"
        f"os.setgid({account.pw_gid}); os.setuid({account.pw_uid})\n"
        "with EmbeddedPostgres(folder / 'stepped down', is_throwaway=True) as server:\n"
        "    print(os.stat(f'/proc/{server.pid}').st_uid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(account.pw_uid)), done.stderr


def test_the_server_ends_when_its_owner_is_killed_and_the_data_is_whole(folder: Path) -> None:
    program = (
        "import pathlib, signal, sys\n"
        "from refundflow.embedded.postgres import EmbeddedPostgres\n"
        "from refundflow.observe import set_up_logs\n"
        "set_up_logs()\n"
        "server = EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()\n"
        "print(server.pid, server.url, flush=True)\n"
        "signal.pause()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    with owner.stdout:
        pid, url = owner.stdout.readline().split()
    write(url, "CREATE TABLE refunds AS SELECT 4250 AS minor")
    postmaster = psutil.Process(int(pid))
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    postmaster.wait(timeout=20)
    with EmbeddedPostgres(folder) as next_owner:
        assert next_owner.is_owner
        assert ask(next_owner.url, "SELECT sum(minor) FROM refunds") == 4250


def test_a_start_while_the_old_server_goes_down_waits_for_it_and_starts_anew(folder: Path) -> None:
    with EmbeddedPostgres(folder, is_throwaway=True) as going:
        assert going.pid is not None
        os.kill(going.pid, signal.SIGINT)
        coming = EmbeddedPostgres(folder, is_throwaway=True)
        # The server may answer once more before it goes; then it was joined, and is gone a moment later.
        while not coming.is_owner:
            coming.start()
        assert ask(coming.url, "SELECT 1") == 1
        coming.stop()
