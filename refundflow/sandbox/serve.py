"""Serves the practice vendors over HTTP: one gunicorn worker with threads, because all state is in its memory.

`python -m refundflow.sandbox.serve --port 8099 [--seed FILE] [--webhooks FILE]`; port 0 takes a free one. One line with the
address is written to standard output once calls can be made; SIGTERM and SIGINT end it within a few seconds.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final, NoReturn

import gunicorn.util
from gunicorn.app.base import BaseApplication

from refundflow.sandbox.app import VENDORS, create_app, subscribe
from refundflow.sandbox.base import Record, World

THREADS: Final = 16


def serve(
    host: str,
    port: int,
    *,
    seed: Mapping[str, Record] | None = None,
    webhooks: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Serves until told to stop, then ends the process with code 0. Raises OSError where the port is taken.

    `seed`: what `POST /_sandbox/seed` takes. `webhooks`: what `PUT /_sandbox/subscriptions` takes. Mistakes in either are
    raised here (ValueError, LookupError), before anything listens.
    """
    _prepared(seed, webhooks).close()
    listener = socket.create_server((host, port), backlog=128)
    address = f"http://{host}:{listener.getsockname()[1]}"
    _Server(listener, address, seed, webhooks).run()
    sys.exit(0)


def _prepared(seed: Mapping[str, Record] | None, webhooks: Mapping[str, Any] | None) -> World:
    world = World(VENDORS)
    subscribe(world, webhooks or {})
    world.seed(seed or {})
    return world


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn carries no types
    def __init__(
        self,
        listener: socket.socket,
        address: str,
        seed: Mapping[str, Record] | None,
        webhooks: Mapping[str, Any] | None,
    ) -> None:
        self._listener = listener
        self._address = address
        self._seed = seed
        self._webhooks = webhooks
        self._world: World | None = None
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": [f"fd://{self._listener.fileno()}"],
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "keepalive": 75,
            "timeout": 0,  # a hanging connection is a fault on purpose, no reason to kill the worker with all its state
            "graceful_timeout": 10,  # on a machine under load two seconds were too few to wake the hanging callers
            "loglevel": "warning",
            "control_socket_disable": True,
            "post_worker_init": self._announce,
            "worker_exit": self._end,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        # Built in the worker, after the fork: threads and locks do not survive one.
        self._world = _prepared(self._seed, self._webhooks)
        return create_app(self._world)

    def _announce(self, _worker: Any) -> None:
        # The header `Date` is a vendor's own time, which a rehearsal may have moved on. gunicorn has no setting for it.
        gunicorn.util.http_date = self._date
        sys.stdout.write(f"practice vendors ready at {self._address}\n")
        sys.stdout.flush()

    def _date(self, _timestamp: float | None = None) -> str:
        assert self._world is not None, "it serves"
        return formatdate(self._world.clock().timestamp(), usegmt=True)

    def _end(self, _arbiter: Any, _worker: Any) -> None:
        if self._world is not None:
            self._world.close()


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command line; ends the process. Exit codes: 0 stopped as told, 2 wrong arguments or files."""
    parser = argparse.ArgumentParser(prog="refundflow sandbox", description="Serves the practice vendors.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8099, help="port; 0 takes a free one (default: 8099)")
    parser.add_argument(
        "--seed", type=Path, help="JSON file: {vendor: {…}}, what exists at the vendors from the start"
    )
    parser.add_argument(
        "--webhooks", type=Path, help='JSON file: {vendor: {"url", "secret"}}, where events are sent'
    )
    asked = parser.parse_args(argv)
    try:
        seed, webhooks = (
            json.loads(path.read_text()) if path else None for path in (asked.seed, asked.webhooks)
        )
        serve(asked.host, asked.port, seed=seed, webhooks=webhooks)
    except (OSError, ValueError, LookupError) as problem:
        parser.error(str(problem))


if __name__ == "__main__":
    main()
