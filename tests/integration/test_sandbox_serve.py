"""The practice vendors as a real process: real connections, really cut."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

pytestmark = pytest.mark.integration

KEY = {"Authorization": "Bearer sk_test_practice", "Content-Type": "application/x-www-form-urlencoded"}
SEED = {"stripe": {"payment_intents": [{"id": "pi_1", "amount": 4250, "currency": "eur"}]}}


class Served:
    """A served sandbox and one keep-alive connection's worth of ways to talk to it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def send(
        self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body.encode(), headers or {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def refund(self, key: str) -> tuple[int, Any]:
        return self.send(
            "POST", "/stripe/v1/refunds", "payment_intent=pi_1&amount=1000", KEY | {"Idempotency-Key": key}
        )

    def plan(self, **fault: Any) -> None:
        assert self.send("POST", "/_sandbox/faults", json.dumps({"vendor": "stripe", **fault}))[0] == 201

    def paid(self) -> list[int]:
        return [line["amount_minor"] for line in self.send("GET", "/_sandbox/book/stripe?effect=refund")[1]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps(SEED))
    command = [sys.executable, "-m", "refundflow.sandbox.serve", "--port", "0", "--seed", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = re.fullmatch(
            r"practice vendors ready at http://127\.0\.0\.1:(\d+)\n", process.stdout.readline()
        )
        assert ready is not None
        yield Served(process, int(ready[1]))
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def test_a_lost_reply_is_a_connection_error_though_the_refund_was_paid(served: Served) -> None:
    served.plan(kind="lost_reply", operation="create_refund")
    with pytest.raises(http.client.RemoteDisconnected):
        served.refund("rf:1")
    assert served.paid() == [1000]

    status, replayed = served.refund("rf:1")
    assert (status, replayed["amount"], served.paid()) == (200, 1000, [1000])


def test_a_hanging_reply_ends_without_an_answer_after_its_time(served: Served) -> None:
    served.plan(kind="lost_request", how="hang", hold_s=0.3)
    with pytest.raises(http.client.RemoteDisconnected):
        served.refund("rf:1")
    assert served.paid() == []


def test_webhooks_reach_a_real_address(served: Served) -> None:
    taken: Queue[tuple[str, bytes]] = Queue()

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.put((self.headers["Stripe-Signature"], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Taker) as listener:
        thread = Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        described = {
            "stripe": {"url": f"http://127.0.0.1:{listener.server_port}/hooks?x=1", "secret": "whsec_1"}
        }
        assert served.send("PUT", "/_sandbox/subscriptions", json.dumps(described))[0] == 200
        assert served.refund("rf:1")[0] == 200
        received = [taken.get(timeout=10) for _ in range(2)]
        listener.shutdown()
        thread.join()

    assert [json.loads(body)["type"] for _, body in received] == ["refund.created", "charge.refunded"]
    assert [re.fullmatch(r"t=\d+,v1=[0-9a-f]{64}", signature) is not None for signature, _ in received] == [
        True,
        True,
    ]


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_when_told_also_while_a_caller_hangs(served: Served, told: signal.Signals) -> None:
    served.plan(kind="lost_request", how="hang", hold_s=600)
    cut: Queue[type[BaseException]] = Queue()

    def hang() -> None:
        try:
            served.refund("rf:1")
        except (OSError, http.client.HTTPException) as error:
            cut.put(type(error))

    thread = Thread(target=hang)
    thread.start()
    while served.send("GET", "/_sandbox/faults")[1] != []:
        pass  # until the hanging call has been taken in
    served.process.send_signal(told)

    assert served.process.wait(timeout=20) == 0
    assert served.process.stderr is not None
    assert served.process.stderr.read() == ""
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert cut.qsize() == 1


def test_a_seed_that_cannot_be_read_ends_it_with_code_2_and_the_reason(tmp_path: Path) -> None:
    seed = tmp_path / "seed.json"
    seed.write_text('{"acme": {}}')
    command = [sys.executable, "-m", "refundflow.sandbox.serve", "--port", "0", "--seed", str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "no vendor 'acme'" in ended.stderr
