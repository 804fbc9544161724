"""A vendor acts and nobody hears of it, or answers something else than it did."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.live import Live, plain

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]

_LOST = [
    pytest.param(
        "stripe", "create_refund", {"kind": "lost_reply", "how": "hang", "hold_s": 3}, id="refund-hang"
    ),
    pytest.param("stripe", "create_refund", {"kind": "lost_reply", "how": "reset"}, id="refund-reset"),
    pytest.param(
        "stripe",
        "create_refund",
        {"kind": "lost_request", "how": "reset"},
        id="refund-request",
        marks=pytest.mark.campaign,
    ),
    pytest.param(
        "stripe", "create_refund", {"kind": "html", "status": 502, "is_after_effect": True}, id="refund-html"
    ),
    pytest.param(
        "stripe", "create_refund", {"kind": "status", "status": 500, "is_after_effect": True}, id="refund-500"
    ),
    pytest.param(
        "stripe", "create_refund", {"kind": "status", "status": 503, "is_after_effect": True}, id="refund-503"
    ),
    pytest.param(
        "shopify", "orderCancel", {"kind": "lost_reply", "how": "hang", "hold_s": 3}, id="cancel-hang"
    ),
    pytest.param("shopify", "orderCancel", {"kind": "lost_reply", "how": "reset"}, id="cancel-reset"),
    pytest.param(
        "shopify", "orderCancel", {"kind": "status", "status": 502, "is_after_effect": True}, id="cancel-502"
    ),
    pytest.param("xero", "create_credit_note", {"kind": "lost_reply", "how": "reset"}, id="note-reset"),
    pytest.param(
        "xero", "create_credit_note", {"kind": "lost_reply", "how": "hang", "hold_s": 3}, id="note-hang"
    ),
    pytest.param("xero", "create_payment", {"kind": "lost_reply", "how": "reset"}, id="payment-reset"),
    pytest.param("mailgun", "send_message", {"kind": "lost_reply", "how": "reset"}, id="mail-reset"),
    pytest.param("slack", "post_message", {"kind": "lost_reply", "how": "reset"}, id="slack-reset"),
]


@pytest.mark.parametrize(("vendor", "operation", "fault"), _LOST)
def test_a_reply_lost_after_the_vendor_acted_is_looked_up_and_nothing_is_done_twice(
    live: Live, vendor: str, operation: str, fault: dict[str, Any]
) -> None:
    [order] = live.begin(plain())
    live.fault(vendor, operation, **fault)
    order.ask()
    live.all_well(order)
    assert live.faults_waiting() == 0
