"""How fast the front door takes cancellations: client threads with connections that stay open, and no workers behind it."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from refundflow.demo.stack import API_KEY, Stack
from refundflow.embedded.ports import free_port
from refundflow.embedded.supervisor import Program, Supervisor

THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What clients saw. `latencies_s`: one per answer, ascending."""

    threads: int
    seconds: float
    latencies_s: list[float]

    @property
    def rate(self) -> float:
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        last = len(self.latencies_s) - 1
        return 1000 * self.latencies_s[min(last, round(last * percent / 100))]


@dataclass(frozen=True, slots=True)
class Share:
    """Where a request's time goes inside the server: mean milliseconds per request, from the meter."""

    wall_ms: float
    sql_ms: float
    commit_ms: float
    requests: int


def post_for(url: str, seconds: float, threads: int, prefix: str) -> Load:
    """Posts requests about orders that nobody knows, each another one. Raises RuntimeError for an answer but 202."""
    host = urlsplit(url).netloc
    began = time.perf_counter()
    found: list[list[float]] = [[] for _ in range(threads)]
    problems: list[str] = []

    def client(index: int) -> None:
        connection = http.client.HTTPConnection(host, timeout=30)
        count = 0
        while time.perf_counter() - began < seconds and not problems:
            count += 1
            number = f"{prefix}-{index}-{count}"
            body = json.dumps({"order": number, "reason": "customer", "requested_by": "customer"})
            headers = {
                "Authorization": f"Bearer {API_KEY}",
                "Idempotency-Key": number,
                "Content-Type": "application/json",
            }
            sent = time.perf_counter()
            connection.request("POST", "/v1/cancellations", body=body, headers=headers)
            answer = connection.getresponse()
            told = answer.read()
            found[index].append(time.perf_counter() - sent)
            if answer.status != 202:
                problems.append(f"{answer.status}: {told[:300]!r}")
        connection.close()

    clients = [threading.Thread(target=client, args=(index,)) for index in range(threads)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    if problems:
        raise RuntimeError(f"the front door answered {problems[0]}")
    took = time.perf_counter() - began
    return Load(threads, took, sorted(latency for one in found for latency in one))


def measure_share(stack: Stack, folder: Path, seconds: float) -> Share:
    """The same load on a second front door that has a meter: its statements and commits are timed request by request."""
    url = f"http://127.0.0.1:{free_port()}"
    command = (
        f"gunicorn tests.bench.metered_ingest:application --bind {url.removeprefix('http://')} --workers 1"
        " --worker-class gthread --threads 8 --keep-alive 75 --log-level warning"
    )
    environment = {**stack.environment, "BENCH_METER": str(folder)}
    with Supervisor([Program("ingest", command)], folder, environment=environment, grace_s=5.0):
        stack.wait_for(f"{url}/readyz")
        for file in folder.glob("*.jsonl"):
            file.write_text("")
        post_for(url, seconds, THREADS, "metered")
    lines: list[dict[str, Any]] = [
        json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    return Share(
        wall_ms=1000 * statistics.fmean(line["wall_s"] for line in lines),
        sql_ms=1000 * statistics.fmean(line["seconds"]["sql"] for line in lines),
        commit_ms=1000 * statistics.fmean(line["seconds"]["commit"] for line in lines),
        requests=len(lines),
    )
