"""The front door with a meter on each request: `gunicorn tests.bench.metered_ingest:application`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from refundflow.ingest.wsgi import application as _plain
from tests.bench.meter import keep, meter


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    meter.start()
    answer: Iterable[bytes] = _plain(environ, start_response)
    keep("ingest")
    return answer
