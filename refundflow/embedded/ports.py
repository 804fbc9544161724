"""Ports on 127.0.0.1 that stay ours from the moment they are chosen until the server listens, and after it restarts."""

from __future__ import annotations

import atexit
import socket
import sys
import threading
from typing import Final

LOOPBACK: Final = "127.0.0.1"

_lock = threading.Lock()
_held: dict[int, socket.socket] = {}


def free_port() -> int:
    """A free port on 127.0.0.1, kept for this process until it ends or `let_go` is called.

    A socket that is bound and never listens holds it. On Linux a server that sets SO_REUSEADDR (Redis, gunicorn, Tornado,
    Python's and Erlang's servers all do) may still listen on it, while the system gives it to nobody who asks for any
    port, neither to listen nor to connect from. So there is no moment between choosing and listening in which it can be
    lost, nor while a server restarts. Elsewhere such a socket would be in the server's way: the port is only chosen, and
    never chosen twice by one process.
    """
    with _lock:
        while True:
            holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            # Asked for without SO_REUSEADDR, so that the system does not hand out a port that another process holds.
            holder.bind((LOOPBACK, 0))
            port: int = holder.getsockname()[1]
            if port not in _held:
                break
            holder.close()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":
            holder.close()
        _held[port] = holder
        return port


def let_go(port: int) -> None:
    """Gives a port back to the system, for a server that refuses to share it."""
    with _lock:
        holder = _held.pop(port, None)
    if holder is not None:
        holder.close()


@atexit.register
def _close_all() -> None:
    """Said at the end, so that the interpreter has nothing left to warn about."""
    with _lock:
        for holder in _held.values():
            holder.close()
        _held.clear()
