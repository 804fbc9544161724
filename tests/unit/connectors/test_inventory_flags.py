"""The signed flag of a stock system: our own format, checked like any other's."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.inventory_flags import InventoryFlags, sign
from refundflow.connectors.portal_api import PortalApi
from refundflow.domain.facts import LineQuantity, OrderRef
from refundflow.domain.inbound import CancellationRequested, Delivery, MalformedError, Refused, Verified
from refundflow.settings import Secret

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
FLAGS = InventoryFlags(Secret("old-key, new-key"), PortalApi("shopify", 10))
BODY = {"flag_id": "17", "flag": "unfulfilled", "order": "#1001"}


def delivered(header: str, body: bytes = json.dumps(BODY).encode()) -> Verified | Refused:
    return FLAGS.verify(Delivery({"x-refundflow-signature": header}, body), NOW)


def signed(body: bytes = json.dumps(BODY).encode(), key: str = "new-key", stamp: str = STAMP) -> str:
    return f"t={stamp},v1={sign(key, stamp, body)}"


@pytest.mark.parametrize("key", ["old-key", "new-key"])
def test_either_key_will_do_while_they_are_changed(key: str) -> None:
    assert delivered(signed(key=key)) == Verified("17", "inventory.flagged")


def test_one_good_signature_among_several_is_enough() -> None:
    good = signed().partition(",")[2]
    assert isinstance(delivered(f"t={STAMP},v1=00,{good}"), Verified)


@pytest.mark.parametrize(
    ("_case", "header", "why"),
    [
        ("none", "", "must be t="),
        ("another key", signed(key="guess"), "does not fit"),
        ("another time", signed().replace(STAMP, str(int(STAMP) + 1)), "does not fit"),
        ("an old time", signed(stamp=str(int(STAMP) - 301)), "more than 300 s"),
        ("a time to come", signed(stamp=str(int(STAMP) + 301)), "more than 300 s"),
        ("no time", "v1=00", "must be t="),
        ("two times", f"t=1,t=2,{signed().partition(',')[2]}", "must be t="),
        ("a time of another script", "t=١٧,v1=00", "must be t="),
        ("a signature that is no ASCII", f"t={STAMP},v1=é", "must be t="),
        ("the body alone was signed", f"t={STAMP},v1={sign('new-key', '', b'')}", "does not fit"),
    ],
)
def test_whatever_is_wrong_with_the_signature_is_refused(_case: str, header: str, why: str) -> None:
    refused = delivered(header)
    assert isinstance(refused, Refused)
    assert why in refused.reason


def test_another_body_is_refused() -> None:
    assert isinstance(delivered(signed(), b"{}"), Refused)


def test_without_keys_nothing_is_believed() -> None:
    keyless = InventoryFlags(Secret(""), PortalApi("shopify", 10))
    body = json.dumps(BODY).encode()
    header = {"x-refundflow-signature": signed(key="")}
    assert isinstance(keyless.verify(Delivery(header, body), NOW), Refused)


def test_an_hour_of_another_clock_is_too_much() -> None:
    body = json.dumps(BODY).encode()
    header = {"x-refundflow-signature": signed()}
    assert isinstance(FLAGS.verify(Delivery(header, body), NOW + timedelta(hours=1)), Refused)


def test_a_flag_asks_for_a_cancellation() -> None:
    whole = BODY | {
        "lines": [{"line_id": "5", "quantity": 2}],
        "platform": "woocommerce",
        "note": "out of red",
    }
    assert FLAGS.read_event("t", json.dumps(whole).encode()) == CancellationRequested(
        OrderRef("woocommerce", "", "#1001"),
        lines=(LineQuantity("5", 2),),
        reason="inventory",
        requested_by="inventory",
        note="out of red",
    )


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("flag", {"flag": "gone"}),
        ("flag_id", {"flag_id": ""}),
        ("flag_id", {"flag_id": 17}),
        ("flag_id", {"flag_id": "a\nb"}),
        ("order", {"order": ""}),
        ("line", {"line": []}),
        ("lines", {"lines": []}),
    ],
)
def test_what_cannot_be_read_is_named(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError) as wrong:
        FLAGS.read_event("t", json.dumps(BODY | changes).encode())
    assert wrong.value.field == field


def test_a_body_that_is_no_object_is_kept_under_its_digest() -> None:
    body = b"[1]"
    verified = delivered(signed(body), body)
    assert isinstance(verified, Verified)
    assert verified.source_event_id.startswith("sha256:")
    with pytest.raises(MalformedError):
        FLAGS.read_event("t", body)
