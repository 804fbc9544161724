"""The embedded Redis: starts, keeps or loses its data as asked, and shares a machine with others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from refundflow.embedded import redis as embedded_redis
from refundflow.embedded.redis import EmbeddedRedis, NoRedisError, RedisStartError

pytestmark = pytest.mark.integration

ONCE = Retry(NoBackoff(), 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rf-") as name:
        yield Path(name)


def put(server: EmbeddedRedis, key: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set(key, value)


def get(server: EmbeddedRedis, key: str) -> object:
    with redis.Redis.from_url(server.url) as client:
        return client.get(key)


def test_it_answers_on_loopback_only_and_ends_when_stopped(folder: Path) -> None:
    server = EmbeddedRedis(folder, is_throwaway=True)
    with server:
        put(server, "order", "1001")
        assert get(server, "order") == b"1001"
        assert server.pid is not None
        process = psutil.Process(server.pid)
        listening = {each.laddr for each in process.net_connections(kind="inet") if each.status == "LISTEN"}
        assert listening == {("127.0.0.1", server.port)}
    assert server.pid is None
    assert not process.is_running()


def test_a_stranger_without_the_password_is_refused(folder: Path) -> None:
    with EmbeddedRedis(folder, is_throwaway=True) as server:
        with redis.Redis(port=server.port, retry=ONCE) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert server.pid is not None
        assert not any(server.url.split("@")[0][9:] in word for word in psutil.Process(server.pid).cmdline())
        assert (folder / "redis.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("is_throwaway", [False, True], ids=["kept", "throwaway"])
def test_data_survives_a_restart_and_a_wipe_loses_it(folder: Path, is_throwaway: bool) -> None:
    with EmbeddedRedis(folder, is_throwaway=is_throwaway) as server:
        url, first_pid = server.url, server.pid
        put(server, "order", "1001")
        server.restart(wipe=False)
        assert (server.url, get(server, "order")) == (url, b"1001")
        assert server.pid != first_pid
        server.restart(wipe=True)
        assert (server.url, get(server, "order")) == (url, None)


def test_data_survives_a_stop_and_a_later_start_by_another(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        put(server, "order", "1001")
    with EmbeddedRedis(folder) as later:
        assert get(later, "order") == b"1001"


def test_throwaway_data_is_gone_after_a_kill(folder: Path) -> None:
    with EmbeddedRedis(folder, is_throwaway=True) as server:
        put(server, "order", "1001")
        server.kill()
        assert server.pid is None
        server.start()
        assert get(server, "order") is None


def test_a_paused_server_answers_nothing_until_it_is_resumed(folder: Path) -> None:
    with EmbeddedRedis(folder, is_throwaway=True) as server:
        server.pause()
        with redis.Redis.from_url(server.url, socket_timeout=0.3, retry=ONCE) as client:
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.resume()
            assert client.ping() is True


def test_a_paused_server_is_stopped_all_the_same(folder: Path) -> None:
    server = EmbeddedRedis(folder, is_throwaway=True).start()
    assert server.pid is not None
    process = psutil.Process(server.pid)
    server.pause()
    server.stop()
    assert not process.is_running()


def test_two_servers_run_side_by_side(folder: Path) -> None:
    with (
        EmbeddedRedis(folder / "a", is_throwaway=True) as one,
        EmbeddedRedis(folder / "b", is_throwaway=True) as two,
    ):
        put(one, "order", "1001")
        assert one.port != two.port
        assert get(two, "order") is None


def test_a_second_server_on_the_folder_is_refused_while_the_first_lives(folder: Path) -> None:
    with EmbeddedRedis(folder, is_throwaway=True) as server:
        with pytest.raises(RedisStartError, match="another Redis runs on"):
            EmbeddedRedis(folder).start()
        assert server.pid is not None


def test_a_failed_start_tells_the_end_of_the_log(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        put(server, "order", "1001")
    # One file up to Redis 6, a folder of several since.
    for path in (folder / "data").rglob("appendonly*.*"):
        if path.is_file():
            path.write_bytes(b"*3\r\nnonsense")
    with pytest.raises(RedisStartError) as refusal:
        EmbeddedRedis(folder).start()
    assert refusal.value.log_tail != ""


def test_without_any_server_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(embedded_redis, "find_spec", lambda _: None)
    with pytest.raises(NoRedisError, match="redis-server, redis or valkey-server"):
        EmbeddedRedis(folder).start()
    assert list(folder.iterdir()) == []


def test_without_the_wheel_a_server_on_the_path_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = folder / "programs"
    programs.mkdir()
    (programs / "valkey-server").write_text("#!/bin/sh\n")
    (programs / "valkey-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(embedded_redis, "find_spec", lambda _: None)
    with pytest.raises(RedisStartError):
        EmbeddedRedis(folder).start(timeout_s=1.0)
