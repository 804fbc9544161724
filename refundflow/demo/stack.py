"""The whole system on one machine: servers from wheels, practice vendors, and the Procfile's processes under a supervisor."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Final, Self

from refundflow.connectors.inventory_flags import sign
from refundflow.demo import practice
from refundflow.demo.practice import API_KEY
from refundflow.embedded.ports import free_port
from refundflow.embedded.postgres import EmbeddedPostgres
from refundflow.embedded.redis import EmbeddedRedis
from refundflow.embedded.supervisor import Program, Supervisor, read_procfile

#: The Procfile that ships with the project, for an installed `refundflow` that is run elsewhere.
PROCFILE: Final = r"""ingest: gunicorn refundflow.ingest.wsgi:application --bind ${INGEST_BIND:-127.0.0.1:8000} --workers ${INGEST_WORKERS:-1} --worker-class gthread --threads 8 --keep-alive 75 --log-level warning
work: celery -A refundflow worker -Q intake,orders,ledger,notify -n work@%h -c ${WORK_CONCURRENCY:-2} --without-gossip --without-mingle -l WARNING
money: celery -A refundflow worker -Q money -n money@%h -c ${MONEY_CONCURRENCY:-1} --without-gossip --without-mingle -l WARNING
beat: celery -A refundflow beat -l WARNING
flower: celery -A refundflow flower --address=${FLOWER_ADDRESS:-127.0.0.1} --port=${FLOWER_PORT:-5555} --logging=warning
"""
_HERE: Final = Path(__file__).parent
#: What a shop subscribes to, where a vendor would tell of more.
_TOPICS: Final[Mapping[str, Mapping[str, list[str]]]] = {
    "shopify": {"topics": ["orders/cancelled", "refunds/create"]},
    "mailgun": {"topics": ["inbound", "permanent_fail"]},
    "sendgrid": {"topics": ["inbound"]},
    # What these tell would be about our own doings; the scenes send what people ask.
    "zendesk": {"topics": ["none"]},
    "freshdesk": {"topics": ["none"]},
    "trello": {"topics": ["updateCard"]},
}


class Stack:
    """Starts everything under `home`, tells when it is ready, and stops it again. A context manager.

    `is_throwaway`: servers that need not survive a power cut (tests); `config`: the shop's rules; `environment`: laid over
    what every process gets; `without`: names of the Procfile that are not started.
    """

    def __init__(
        self,
        home: Path,
        *,
        is_throwaway: bool = False,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
        without: tuple[str, ...] = (),
    ) -> None:
        self.home = home
        self.without = without
        self.is_throwaway = is_throwaway
        self.config = config or _HERE / "refundflow.toml"
        self.extra = dict(environment or {})
        self._stack = ExitStack()
        self.sandbox_url = f"http://127.0.0.1:{free_port()}"
        self.api_url = f"http://127.0.0.1:{free_port()}"
        self.flower_url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.postgres = EmbeddedPostgres(self.home / "postgres", is_throwaway=self.is_throwaway)
            self._stack.callback(self.postgres.stop)
            self.redis = EmbeddedRedis(self.home / "redis", is_throwaway=self.is_throwaway)
            self._stack.callback(self.redis.stop)
            self.postgres.start()
            self.redis.start()
            self.environment = self._environment()
            subprocess.run(
                [sys.executable, "-m", "refundflow", "db", "upgrade"],
                env=self.environment,
                check=True,
                capture_output=True,
            )
            self.supervisor = self._stack.enter_context(
                Supervisor(self._processes(), self.home, environment=self.environment, grace_s=6.0)
            )
            self.wait_for(f"{self.sandbox_url}/_sandbox/health")
            self.wait_for(f"{self.api_url}/readyz")
            (self.home / "environment.sh").write_text(
                "".join(f"export {n}='{v}'\n" for n, v in sorted(self.own_environment().items())),
                encoding="utf-8",
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _processes(self) -> list[Program]:
        """The practice vendors, then the working folder's Procfile (or the shipped one, word for word the same)."""
        procfile = Path("Procfile")
        text = procfile.read_text(encoding="utf-8") if procfile.is_file() else PROCFILE
        port = self.sandbox_url.rsplit(":", 1)[1]
        sandbox = Program("sandbox", f"{sys.executable} -m refundflow.sandbox.serve --port {port}")
        return [sandbox, *(p for p in read_procfile(text) if p.name not in self.without)]

    def own_environment(self) -> dict[str, str]:
        """What another shell must export to talk to this system."""
        return {
            "DATABASE_URL": self.postgres.url,
            "BROKER_URL": self.redis.url,
            "REFUNDFLOW_CONFIG": str(self.config.resolve()),
            "REFUNDFLOW_HOME": str(self.home.resolve()),
            "REFUNDFLOW_API_KEYS": f"shop:{API_KEY}",
            **practice.environment(self.sandbox_url, self.api_url),
            **self.extra,
        }

    def _environment(self) -> dict[str, str]:
        kept = {
            n: v
            for n, v in os.environ.items()
            if not n.startswith(("REFUNDFLOW_", "CELERY_"))
            and n not in ("DATABASE_URL", "BROKER_URL", "REDIS_URL", "RESULT_URL")
        }
        bin_dir = str(Path(sys.executable).parent)
        return {
            **kept,
            "PATH": f"{bin_dir}{os.pathsep}{kept.get('PATH', '')}",
            "INGEST_BIND": self.api_url.removeprefix("http://"),
            "FLOWER_PORT": self.flower_url.rsplit(":", 1)[1],
            "PYTHONUNBUFFERED": "1",
            **self.own_environment(),
        }

    # ------------------------------------------------------------ talking to it

    def wait_for(self, url: str, within_s: float = 40.0) -> None:
        """Waits until an address answers 200. Raises TimeoutError with the end of the logs."""
        pause = Event()
        for _ in range(int(within_s / 0.1)):
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pause.wait(0.1)
        raise TimeoutError(f"{url} did not answer within {within_s:g} s; see {self.home / 'logs'}")

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls the practice vendors' controls."""
        return call(method, f"{self.sandbox_url}/_sandbox/{path}", body)

    def ask(self, body: Any, key: str) -> tuple[int, Any]:
        """Asks for a cancellation at the front door; returns status and answer."""
        return send(
            "POST",
            f"{self.api_url}/v1/cancellations",
            body,
            {"Authorization": f"Bearer {API_KEY}", "Idempotency-Key": key},
        )

    def flag(self, body: bytes) -> tuple[int, Any]:
        """A signed flag of a stock system; returns status and answer."""
        stamp = str(int(time.time()))
        signature = f"t={stamp},v1={sign(practice.FLAG_KEY, stamp, body)}"
        flagged = json.loads(body)
        assert json.dumps(flagged).encode() == body, "what is signed is what is sent"
        headers = {"X-Refundflow-Signature": signature}
        return send("POST", f"{self.api_url}/v1/inventory-flags", flagged, headers)

    def webhook(self, vendor: str, topic: str, target: str, *, copies: int = 1) -> Any:
        """Lets a practice vendor send a signed webhook to the front door."""
        return self.control(
            "POST",
            "webhooks",
            {
                "vendor": vendor,
                "url": f"{self.api_url}/hooks/{vendor}",
                "secret": practice.WEBHOOK_SECRETS[vendor],
                "events": [{"topic": topic, "object": target}],
                "copies": copies,
            },
        )

    def subscribe(self) -> None:
        """From now on the practice vendors report their own doings to the front door, as the real ones do."""
        self.control(
            "PUT",
            "subscriptions",
            {
                vendor: {"url": f"{self.api_url}/hooks/{vendor}", "secret": secret, **_TOPICS.get(vendor, {})}
                for vendor, secret in practice.WEBHOOK_SECRETS.items()
            },
        )

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the `refundflow` command against this system."""
        return subprocess.run(
            [sys.executable, "-m", "refundflow", *arguments],
            env={**self.environment, "REFUNDFLOW_OPERATOR": "demo"},
            capture_output=True,
            text=True,
            check=False,
        )


def send(method: str, url: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
    """One JSON request; returns status and parsed answer, whatever the status."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data=data, method=method, headers={"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def call(method: str, url: str, body: Any = None) -> Any:
    """As `send`, for calls that must succeed. Raises RuntimeError with the answer."""
    status, answer = send(method, url, body, {})
    if status >= 300:
        raise RuntimeError(f"{method} {url} answered {status}: {answer}")
    return answer


def new_key() -> str:
    return secrets.token_hex(8)
