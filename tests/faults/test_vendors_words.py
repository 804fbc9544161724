"""What vendors say, late and at bad moments: wait, no, it failed after all, the customer's bank has it."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.support.live import Live, Order, plain

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]


def test_retry_after_is_honoured_to_the_second(live: Live) -> None:
    [order] = live.begin(plain())
    live.fault("stripe", "create_refund", "status", status=429, headers={"Retry-After": "3"})
    order.ask()
    live.all_well(order)
    first, second = (datetime.fromisoformat(call["at"]) for call in live.calls("stripe", "create_refund"))
    assert 3.0 <= (second - first).total_seconds() < 8.0


def test_a_throttled_cancel_goes_again_and_once(live: Live) -> None:
    [order] = live.begin(plain())
    live.fault("shopify", "orderCancel", "status", status=429, headers={"Retry-After": "1"}, times=2)
    order.ask()
    live.all_well(order)
    assert [call["status"] for call in live.calls("shopify", "orderCancel")] == [429, 429, 200]


def test_a_refund_refused_for_good_is_a_dead_letter_and_its_money_is_free(live: Live) -> None:
    [order] = live.begin(plain())
    live.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    order.ask()
    live.until_quiet()
    live.agree()
    step = order.step("refund")
    assert (step["state"], step["code"], step["is_reserved"]) == (
        "dead_lettered",
        "charge_not_refundable",
        False,
    )
    assert step["reason"]
    assert order.refunds() == []
    assert order.cancels() == 1
    assert order.mails() == {"cancellation_received": 1, "order_cancelled": 1}
    assert order.recorded_refunds() == []
    assert order.case()["state"] == "attention"
    assert live.rows("SELECT reserved, settled FROM payments") == [{"reserved": 0, "settled": 0}]


def _fail_late(live: Live) -> None:
    [line] = live.book("stripe", "refund")
    live.stack.control("POST", "settle", {"vendor": "stripe", "refund": line["id"], "status": "failed"})


def _assert_told_once_of_the_failure(order: Order) -> None:
    live = order.live
    step = order.step("refund")
    assert (step["state"], step["code"]) == ("reversed", "refund_failed")
    assert order.mails() == {
        "cancellation_received": 1,
        "order_cancelled": 1,
        "refund_sent": 1,
        "refund_failed": 1,
    }
    assert order.case()["state"] == "attention"
    assert live.rows("SELECT reserved, settled FROM payments") == [{"reserved": 0, "settled": 0}]
    journal = live.rows(
        "SELECT account, sum(amount_minor)::bigint AS minor, count(*) AS lines FROM journal_lines GROUP BY account"
    )
    assert {(line["minor"], line["lines"]) for line in journal} == {(0, 2)}
    assert len(journal) == 2


def test_a_refund_that_fails_days_later_is_reversed_and_the_customer_is_told_once(live: Live) -> None:
    [order] = live.begin(plain())
    live.fault("stripe", "create_refund", "late_failure")
    order.ask()
    live.all_well(order)
    _fail_late(live)
    live.until("the reversal", lambda: order.is_in("refund", "reversed"))
    live.until_quiet()
    live.agree()
    _assert_told_once_of_the_failure(order)


def test_the_news_of_a_failed_refund_repeated_twenty_times_reverses_it_once(live: Live) -> None:
    [order] = live.begin(plain())
    order.ask()
    live.all_well(order)
    _fail_late(live)
    [line] = live.book("stripe", "refund")
    live.stack.webhook("stripe", "refund.failed", line["id"], copies=20)
    live.until("the reversal", lambda: order.is_in("refund", "reversed"))
    live.until_quiet()
    live.agree()
    _assert_told_once_of_the_failure(order)


def _open_dispute(order: Order) -> None:
    order.live.stack.control(
        "POST", "settle", {"vendor": "stripe", "payment_intent": order.intents[0], "open_dispute": {}}
    )


def test_a_dispute_opened_while_the_refund_waits_for_its_next_try_stops_it(live: Live) -> None:
    [order] = live.begin(plain())
    live.fault("stripe", "create_refund", "status", status=429, headers={"Retry-After": "6"})
    order.ask()
    live.until("the refund's retry", lambda: order.is_in("refund", "retry_scheduled"))
    _open_dispute(order)
    live.until("the skip", lambda: order.is_in("refund", "skipped"))
    live.until_quiet()
    live.agree()
    step = order.step("refund")
    assert (step["code"], step["is_reserved"]) == ("dispute", False)
    assert "dispute" in step["reason"]
    assert order.refunds() == []
    assert [call["status"] for call in live.calls("stripe", "create_refund")] == [429]
    assert live.rows("SELECT reserved, settled, dispute FROM payments") == [
        {"reserved": 0, "settled": 0, "dispute": "open"}
    ]
    assert "refund_sent" not in order.mails()


def test_a_dispute_opened_while_a_refund_is_pending_pays_nothing_more(live: Live) -> None:
    [order] = live.begin(plain())
    live.fault("stripe", "create_refund", "slow_pending")
    order.ask()
    live.until("the pending refund", lambda: order.is_in("refund", "pending"))
    reference = order.step("refund")["reference"]
    _open_dispute(order)
    live.until("the dispute", lambda: live.rows("SELECT 1 AS yes FROM payments WHERE dispute = 'open'"))
    live.stack.control("POST", "settle", {"vendor": "stripe", "refund": reference, "status": "succeeded"})
    live.until("the refund's end", lambda: order.is_in("refund", "succeeded"))
    live.until_quiet()
    live.agree()
    assert order.refunds() == [(1780, "EUR", order.step("refund")["step_key"])]
    assert len(live.calls("stripe", "create_refund")) == 1
    assert live.rows("SELECT reserved, settled, dispute FROM payments") == [
        {"reserved": 0, "settled": 1780, "dispute": "open"}
    ]
