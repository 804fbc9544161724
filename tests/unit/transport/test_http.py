"""What needs no network: how a request becomes bytes, and whose credentials go where. The rest is in integration/."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from refundflow.transport import http as wire
from refundflow.transport.base import NotSentError, Request
from refundflow.transport.http import RequestsWire, write_json
from refundflow.transport.pacing import LocalPacer
from refundflow.transport.redact import Redaction


@pytest.mark.parametrize(
    ("_case", "value", "text"),
    [
        ("a Decimal keeps its places", Decimal("42.50"), "42.50"),
        ("a Decimal with an exponent", Decimal("1E+3"), "1000"),
        ("a small Decimal", Decimal("0.0000001"), "0.0000001"),
        ("nested", {"a": [Decimal("-0.05"), 1, None, True]}, '{"a": [-0.05, 1, null, true]}'),
        ("quotes and umlauts", {'"ä': "€"}, '{"\\"ä": "€"}'),
        ("nothing in it", {"a": {}, "b": []}, '{"a": {}, "b": []}'),
    ],
)
def test_json_is_written_with_exact_decimals(_case: str, value: Any, text: str) -> None:
    assert write_json(value) == text
    assert json.loads(write_json(value), parse_float=Decimal) == value


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("Infinity"), object()])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json({"a": value})


def prepared(request: Request, **headers: str) -> Any:
    return wire._prepare(request, wire._join("https://v.example/api", request.path), headers)


def test_a_form_is_encoded_in_order_and_the_same_every_time() -> None:
    request = Request("POST", "/v1/x", "t", form=[("a[b]", "1"), ("a[c]", "ä &"), ("e[]", "x")])
    first, second = prepared(request), prepared(request)
    assert first.url == "https://v.example/api/v1/x"
    assert first.body == second.body == b"a%5Bb%5D=1&a%5Bc%5D=%C3%A4+%26&e%5B%5D=x"
    assert first.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_json_goes_as_utf8_with_its_type_unless_the_request_names_another() -> None:
    request = Request(
        "PUT", "x", "t", json={"total": Decimal("1.10")}, headers={"content-type": "application/v+json"}
    )
    assert prepared(request).body == b'{"total": 1.10}'
    assert prepared(request).headers["Content-Type"] == "application/v+json"
    assert prepared(Request("PUT", "x", "t", json=[])).headers["Content-Type"] == "application/json"


def test_parameters_join_a_query_that_is_there() -> None:
    request = Request("GET", "/x?a=1", "t", params=[("expand[]", "y"), ("q", "b c")])
    assert prepared(request).url == "https://v.example/api/x?a=1&expand%5B%5D=y&q=b+c"


def test_the_requests_own_headers_win_over_the_platforms_whatever_their_case() -> None:
    sent = prepared(Request("GET", "/x", "t", headers={"accept": "text/csv"}), Accept="application/pdf")
    assert sent.headers["Accept"] == "text/csv"


def test_a_login_of_the_request_is_sent_as_basic() -> None:
    sent = prepared(Request("GET", "/x", "t", auth=("user", "pä:ss")))
    assert sent.headers["Authorization"] == "Basic dXNlcjpww6Q6c3M="


@pytest.mark.parametrize(
    ("_case", "request_"),
    [
        ("a scheme that is not HTTP", Request("GET", "ftp://v.example/x", "t")),
        ("a host that is none", Request("GET", "http://[bad/x", "t")),
        ("no host", Request("GET", "https:///x", "t")),
        ("a line break in a header", Request("GET", "/x", "t", headers={"Idempotency-Key": "a\nb"})),
    ],
)
def test_what_cannot_be_sent_was_not_sent(_case: str, request_: Request) -> None:
    connection = RequestsWire(LocalPacer()).http(
        platform="acme", base_url="https://v.example", rate_per_s=10, burst=5, connect_s=1, read_s=1
    )
    with wire.record_exchanges() as exchanges, pytest.raises(NotSentError):
        connection.send(request_)
    assert [(e.status, e.operation) for e in exchanges] == [(0, "t")]


def test_bytes_go_out_as_they_are_with_the_type_that_the_request_names() -> None:
    raw = b'{"event":{ "amount": 1.10,"name":"\\u00e4"}}'
    sent = prepared(Request("POST", "/x", "t", body=raw, headers={"Content-Type": "application/json"}))
    assert (sent.body, sent.headers["Content-Type"]) == (raw, "application/json")


@pytest.mark.parametrize(
    "bodies",
    [
        {"form": [("a", "1")], "json": {}},
        {"form": [("a", "1")], "body": b"a=1"},
        {"json": {}, "body": b"{}"},
    ],
)
def test_two_bodies_are_a_fault_of_ours(bodies: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one body"):
        prepared(Request("POST", "/x", "t", **bodies))


@pytest.mark.parametrize(
    ("_case", "raw", "kept"),
    [
        ("JSON by its names", b'{"email": "ada@shop.example", "n": 1}', {"email": "***", "n": 1}),
        ("a text by its shapes", b"write to ada@shop.example", "write to ***"),
        ("bytes that are no text", b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_bytes_that_are_sent_are_masked_before_they_are_kept(_case: str, raw: bytes, kept: Any) -> None:
    request = Request("POST", "/x", "t", body=raw)
    with wire.record_exchanges() as exchanges:
        wire._record(request, "https://v.example/x", {}, Redaction(), None, 0.0, "")
    assert [e.request_body for e in exchanges] == [kept]


@pytest.mark.parametrize(
    ("_case", "one", "other", "is_same"),
    [
        ("a path more", "https://v.example/api", "https://v.example/other?x=1", True),
        ("the port written out", "https://v.example", "https://V.example:443/x", True),
        ("another host", "https://v.example", "https://files.v.example/x", False),
        ("another scheme", "https://v.example", "http://v.example/x", False),
        ("another port", "http://127.0.0.1:81", "http://127.0.0.1:82/x", False),
        ("a user that looks like the host", "https://v.example", "https://v.example@evil.example/x", False),
    ],
)
def test_our_credentials_know_their_origin(_case: str, one: str, other: str, is_same: bool) -> None:
    assert (wire._origin(one) == wire._origin(other)) is is_same


def test_verification_cannot_be_switched_off() -> None:
    with pytest.raises(ValueError, match="unverified TLS"):
        RequestsWire(LocalPacer(), verify=False)
