"""The rules of money, each with the tests that fail when it is broken. What counts is what the vendors' books say."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy.exc import IntegrityError

from refundflow.domain.policy import Policy
from refundflow.domain.states import CaseState, StepState
from refundflow.domain.steps import Move
from refundflow.flow import act, people, replay
from refundflow.flow.context import RefusedError, Wave
from refundflow.store import payments, steps
from refundflow.store.db import execute
from refundflow.store.steps import Claim
from tests.support.drive import at_once, drive, run
from tests.support.practice import (
    BOOKS,
    Shop,
    cancelled,
    declined,
    failed_late,
    intent_of,
    line_of,
    payment_of,
    received,
    refunded,
)

pytestmark = pytest.mark.integration

DAY_S = 86_400.0
WHOLE = [(4250, "EUR")]


def last_refund(shop: Shop) -> str:
    return str(shop.book("stripe", "refund")[-1]["id"])


# ---------------------------------------------------------------- 1. one payer


def test_what_stripe_took_stripe_returns_and_shopify_only_cancels(shop: Shop) -> None:
    shop.order()
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.money("stripe") == WHOLE
    assert [x for x in shop.book("shopify") if x["amount_minor"]] == []
    assert shop.restocked() == {"SKU-1": 2}
    assert len(shop.book("shopify", "cancel_order")) == 1


def test_what_shopify_took_shopify_returns_and_stripe_is_not_called(shop: Shop) -> None:
    shop.order(payments=[("shopify_payments", 4250, True)])
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.money("shopify") == WHOLE
    assert shop.book("stripe") == []
    assert shop.restocked() == {"SKU-1": 2}


def test_an_order_paid_in_two_ways_gets_each_part_back_from_its_own_payer(shop: Shop) -> None:
    shop.order(payments=[("shopify_payments", 3000, True), ("stripe", 1250, True)])
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.money("shopify") == [(3000, "EUR")]
    assert shop.money("stripe") == [(1250, "EUR")]


def test_stock_without_an_owner_is_not_put_back_by_anyone(shop: Shop) -> None:
    shop.context = replace(shop.context, routing=replace(shop.context.routing, stock_owner=""))
    shop.order()
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.restocked() == {}
    assert shop.money("stripe") == WHOLE


def test_a_gateway_without_a_payer_becomes_a_task_and_nobody_pays(shop: Shop) -> None:
    shop.order(payments=[("bank_transfer", 4250, True)])
    case = shop.cancel()
    assert case.state is CaseState.ATTENTION
    assert "Give back 42.50 EUR by hand" in shop.step(case.case_id, "human_task.1").reason
    assert [x for v in ("shopify", "stripe") for x in shop.book(v) if x["amount_minor"]] == []


# ---------------------------------------------------------------- 2. intent first


def test_the_money_is_reserved_before_the_first_call_to_the_payer(shop: Shop) -> None:
    shop.order()
    shop.receive(shop.ask())
    assert shop.sums(payment_of("#1001")) == (4250, 4250, 0)
    assert shop.calls("stripe", "create_refund") == 0
    assert shop.book("shopify") == []


def test_the_database_refuses_to_reserve_or_settle_more_than_was_captured(shop: Shop) -> None:
    shop.order()
    shop.receive(shop.ask())
    for column in ("reserved", "settled"):
        change = f"UPDATE payments SET {column} = {column} + 1"
        with pytest.raises(IntegrityError, match="money_out_within_captured"):
            shop.db.run(partial(execute, sql=change))
    assert shop.sums(payment_of("#1001")) == (4250, 4250, 0)


def test_eight_reservations_at_the_same_moment_never_exceed_what_was_captured(shop: Shop) -> None:
    shop.order()
    shop.receive(shop.ask(lines=[{"line_id": line_of("#1001", 1), "quantity": 1}]))
    payment = payment_of("#1001")
    assert shop.sums(payment) == (4250, 2125, 0)
    got = at_once(6, lambda _: shop.db.run(lambda c: payments.reserve(c, payment, 1000)))
    assert sorted(got) == [False] * 4 + [True] * 2
    assert shop.sums(payment) == (4250, 4125, 0)


def test_two_cases_on_one_payment_pay_it_back_once(shop: Shop) -> None:
    shop.order("#1001")
    transaction = {"kind": "SALE", "gateway": "stripe", "amount": 4250, "payment_id": intent_of("#1001")}
    shop.order("#1002", payments=[], transactions=[transaction])
    first, second = shop.receive(shop.ask("#1001")), shop.receive(shop.ask("#1002"))
    for each in (first, second):
        drive(shop.context, each.wave)
    assert shop.case(first.case_id).state is CaseState.COMPLETE
    assert shop.case(second.case_id).state is CaseState.ATTENTION
    assert shop.step(second.case_id, "refund.1").code == "not_refundable"
    assert shop.money("stripe") == WHOLE
    assert shop.sums(payment_of("#1001")) == (4250, 0, 4250)


def test_two_workers_on_one_refund_pay_once(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "status", status=429, headers={"Retry-After": "600"})
    case_id = shop.cancel(within_s=90).case_id
    assert shop.states(case_id, "refund") == ["retry_scheduled"]
    shop.clock.jump(900)
    at_once(4, lambda _: run(shop.context, f"{case_id}.refund.1"))
    assert shop.states(case_id, "refund") == ["succeeded"]
    assert shop.calls("stripe", "create_refund") == 2
    assert shop.money("stripe") == WHOLE


# ---------------------------------------------------------------- 3. unknown is not failed


def test_a_reply_lost_after_the_act_is_looked_up_and_not_sent_again(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "lost_reply")
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.calls("stripe", "create_refund") == 1
    assert shop.money("stripe") == WHOLE


def test_a_request_that_never_arrived_goes_again_under_the_same_key_after_a_look(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "lost_request")
    case = shop.cancel(within_s=2 * DAY_S)
    assert case.state is CaseState.COMPLETE
    assert shop.calls("stripe", "create_refund") == 2
    assert [x["idempotency_key"] for x in shop.book("stripe", "refund")] == [
        f"refundflow:{case.case_id}.refund.1:1"
    ]
    assert shop.money("stripe") == WHOLE


def test_a_bad_gateway_after_the_act_is_looked_up_and_not_sent_again(shop: Shop) -> None:
    shop.order(payments=[("shopify_payments", 4250, True)])
    shop.fault("shopify", "refundCreate", "status", status=502, is_after_effect=True)
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.calls("shopify", "refundCreate") == 1
    assert shop.money("shopify") == WHOLE


def test_a_cancel_whose_reply_was_lost_is_looked_up_and_restocks_once(shop: Shop) -> None:
    shop.order()
    shop.fault("shopify", "orderCancel", "lost_reply")
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.calls("shopify", "orderCancel") == 1
    assert len(shop.book("shopify", "cancel_order")) == 1
    assert shop.restocked() == {"SKU-1": 2}


def test_a_payer_that_stays_silent_for_days_is_never_called_failed_and_keeps_its_reservation(
    shop: Shop,
) -> None:
    shop.order()
    asked = shop.receive(shop.ask())
    shop.fault("stripe", "*", "lost_request", times=1000)
    drive(shop.context, asked.wave, within_s=9 * DAY_S)
    step = shop.step(asked.case_id, "refund.1")
    assert (step.state, step.code, step.may_have_happened) == (
        StepState.DEAD_LETTERED,
        "still_unknown",
        True,
    )
    assert shop.case(asked.case_id).state is CaseState.ATTENTION
    assert shop.sums(payment_of("#1001")) == (4250, 4250, 0)
    assert shop.calls("stripe", "create_refund") == 1
    assert shop.mails() == [received(), cancelled()]
    with pytest.raises(RefusedError, match="cannot be discarded unasked"):
        replay.discard(shop.context, step.step_key, operator="bo", reason="tidy")
    # When the payer speaks again, the replay asks it, hears that nothing is there, and sends once.
    shop.vendors.control("DELETE", "faults")
    plan = replay.preview(shop.context, replay.select(shop.context, target=step.step_key))
    assert [(x.is_refused, x.will) for x in plan.steps] == [(False, "send 42.50 EUR")]
    for wave in replay.execute(shop.context, plan, operator="bo", reason="Stripe is back"):
        drive(shop.context, wave)
    assert shop.money("stripe") == WHOLE
    assert shop.case(asked.case_id).state is CaseState.COMPLETE


def test_a_payer_silent_for_days_that_had_paid_is_not_paid_again_by_the_replay(shop: Shop) -> None:
    shop.order()
    asked = shop.receive(shop.ask())
    shop.fault("stripe", "create_refund", "lost_reply")
    shop.fault("stripe", "*", "lost_request", times=1000)
    drive(shop.context, asked.wave, within_s=9 * DAY_S)
    assert shop.step(asked.case_id, "refund.1").code == "still_unknown"
    shop.vendors.control("DELETE", "faults")
    plan = replay.preview(shop.context, replay.select(shop.context, target=asked.case_id))
    assert [x.is_refused for x in plan.steps] == [True]
    assert plan.money == ()
    for wave in replay.execute(shop.context, plan, operator="bo", reason="Stripe is back"):
        drive(shop.context, wave)
    assert shop.calls("stripe", "create_refund") == 1
    assert shop.money("stripe") == WHOLE
    assert shop.case(asked.case_id).state is CaseState.COMPLETE
    assert shop.sums(payment_of("#1001")) == (4250, 0, 4250)


@pytest.mark.parametrize(
    ("name", "was_sent", "calls"), [("before_the_call", False, 2), ("after_it", True, 2)]
)
def test_a_worker_that_died_holding_a_refund_is_followed_by_a_look(
    shop: Shop, name: str, was_sent: bool, calls: int
) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "status", status=429, headers={"Retry-After": "600"})
    case_id = shop.cancel(within_s=90).case_id
    shop.clock.jump(900)
    step = shop.step(case_id, "refund.1")
    dead = Claim(token="dead", task_id="t", worker="gone")
    claimed = shop.db.run(
        lambda c: steps.claim(c, step, Move.SEND, dead, now=shop.clock(), lease_s=shop.context.pace.lease_s)
    )
    assert claimed is not None
    if was_sent:
        act.send(shop.context.platforms, claimed, claimed.command)
    assert run(shop.context, step.step_key).move is Move.LEAVE
    drive(shop.context, None, within_s=DAY_S)
    assert shop.case(case_id).state is CaseState.COMPLETE, name
    assert shop.calls("stripe", "create_refund") == calls
    assert shop.money("stripe") == WHOLE


# ---------------------------------------------------------------- 4. say the amount


@pytest.mark.parametrize(
    ("name", "answered"),
    [("less", {"amount": 4249}), ("more", {"amount": 4251}), ("another_currency", {"currency": "usd"})],
)
def test_an_answer_with_another_amount_stops_the_case(
    shop: Shop, name: str, answered: dict[str, object]
) -> None:
    shop.order()
    body = {
        "id": "re_odd",
        "object": "refund",
        "amount": 4250,
        "currency": "eur",
        "status": "succeeded",
        "payment_intent": intent_of("#1001"),
        "charge": "ch_1",
        "created": 1,
        "metadata": {},
        **answered,
    }
    shop.fault("stripe", "create_refund", "status", status=200, body=body)
    case = shop.cancel(within_s=DAY_S)
    step = shop.step(case.case_id, "refund.1")
    assert (step.state, step.code) == (StepState.DEAD_LETTERED, "amount_mismatch"), name
    assert case.state is CaseState.ATTENTION
    assert shop.calls("stripe", "create_refund") == 1
    assert shop.sums(payment_of("#1001")) == (4250, 4250, 0)
    assert refunded() not in shop.mails()
    assert shop.journal() == {}


# ---------------------------------------------------------------- 5. a dispute beats a refund


def test_a_payment_in_dispute_is_not_refunded(shop: Shop) -> None:
    shop.order(dispute={"status": "needs_response"})
    case = shop.cancel()
    assert case.state is CaseState.HELD
    assert shop.calls("stripe", "create_refund") == 0
    assert shop.calls("shopify", "orderCancel") == 0


def test_a_dispute_that_opens_while_a_refund_waits_takes_it_back_unsent(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "status", status=429, headers={"Retry-After": "600"})
    case_id = shop.cancel(within_s=90).case_id
    assert shop.states(case_id, "refund") == ["retry_scheduled"]
    dispute = shop.settle("stripe", payment_intent=intent_of("#1001"), open_dispute={})[0]
    shop.news("stripe", "charge.dispute.created", dispute["id"], within_s=DAY_S)
    assert shop.states(case_id, "refund") == ["skipped"]
    assert shop.step(case_id, "refund.1").code == "dispute"
    assert shop.sums(payment_of("#1001")) == (4250, 0, 0)
    assert shop.money("stripe") == []
    assert shop.calls("stripe", "create_refund") == 1
    assert refunded() not in shop.mails()


def test_a_dispute_that_nobody_reported_is_seen_under_the_lock_before_the_call(shop: Shop) -> None:
    shop.order()
    asked = shop.receive(shop.ask())
    shop.db.run(lambda c: execute(c, "UPDATE payments SET dispute = 'open'"))
    drive(shop.context, asked.wave)
    assert shop.states(asked.case_id, "refund") == ["skipped"]
    assert shop.calls("stripe", "create_refund") == 0
    assert shop.sums(payment_of("#1001")) == (4250, 0, 0)


def test_a_refund_that_went_out_stands_when_a_dispute_opens_and_is_not_sent_again(shop: Shop) -> None:
    shop.order()
    case_id = shop.cancel().case_id
    warning = shop.settle("stripe", payment_intent=intent_of("#1001"), early_fraud_warning="misc")[0]
    shop.news("stripe", "radar.early_fraud_warning.created", warning["id"])
    assert shop.states(case_id, "refund") == ["succeeded"]
    assert shop.money("stripe") == WHOLE


@pytest.mark.parametrize(("on_warning", "paid"), [("hold", []), ("refund", WHOLE)])
def test_an_early_warning_is_refunded_only_by_policy(
    shop: Shop, on_warning: str, paid: list[tuple[int, str]]
) -> None:
    shop.context = replace(shop.context, policy=Policy(on_warning=on_warning, hold_reasons=()))
    shop.order()
    warning = shop.settle("stripe", payment_intent=intent_of("#1001"), early_fraud_warning="misc")[0]
    shop.news("stripe", "radar.early_fraud_warning.created", warning["id"])
    assert [c["state"] for c in shop.all_cases()] == ["complete" if paid else "held"]
    assert shop.money("stripe") == paid


# ---------------------------------------------------------------- 6. late words count


def test_a_refund_that_fails_late_is_reversed_and_the_customer_is_told_once(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "late_failure")
    case = shop.cancel()
    assert case.state is CaseState.COMPLETE
    assert shop.journal() == {"refunds": 4250, "clearing:stripe": -4250}
    shop.settle("stripe")
    for topic in ("refund.failed", "refund.updated", "charge.refund.updated"):
        shop.news("stripe", topic, last_refund(shop))
    assert shop.states(case.case_id, "refund") == ["reversed"]
    assert shop.journal() == {"refunds": 0, "clearing:stripe": 0}
    assert shop.sums(payment_of("#1001")) == (4250, 0, 0)
    assert shop.case(case.case_id).state is CaseState.ATTENTION
    assert shop.mails() == [received(), cancelled(), refunded(), failed_late()]
    assert shop.states(case.case_id, "human_task") == ["dead_lettered"]


def test_a_word_that_a_refund_failed_is_not_believed_before_the_payer_was_asked(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "late_failure")
    case = shop.cancel()
    shop.settle("stripe")
    event_id = shop.webhook("stripe", "refund.failed", last_refund(shop))
    shop.fault("stripe", "*", "lost_request", times=50)
    assert shop.receive(event_id).outcome.startswith("waits for stripe")
    assert shop.states(case.case_id, "refund") == ["succeeded"]
    shop.vendors.control("DELETE", "faults")
    drive(shop.context, None)
    assert shop.states(case.case_id, "refund") == ["reversed"]


def test_after_a_late_failure_the_money_goes_out_again_only_when_a_person_plans_it(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "late_failure")
    case_id = shop.cancel().case_id
    shop.settle("stripe")
    shop.news("stripe", "refund.failed", last_refund(shop), within_s=5 * DAY_S)
    assert shop.calls("stripe", "create_refund") == 1
    _, wave = people.replan(shop.context, case_id, operator="bo", reason="the card works again")
    drive(shop.context, wave)
    assert shop.states(case_id, "refund") == ["reversed", "succeeded"]
    assert [x["idempotency_key"] for x in shop.book("stripe", "refund")] == [
        f"refundflow:{case_id}.refund.1:1",
        f"refundflow:{case_id}.refund.2:1",
    ]
    assert shop.journal() == {"refunds": 4250, "clearing:stripe": -4250}
    assert shop.mails() == [received(), cancelled(), refunded(), failed_late(), refunded()]


# ---------------------------------------------------------------- 7. void before capture, refund after


def test_an_authorisation_is_released_and_not_refunded(shop: Shop) -> None:
    shop.order(payments=[("stripe", 4250, False)])
    case = shop.cancel()
    assert case.state is CaseState.COMPLETE
    assert shop.money("stripe", "void") == WHOLE
    assert shop.money("stripe") == []
    assert shop.journal() == {}


def test_the_authorisation_is_released_first_and_the_captured_rest_refunded(shop: Shop) -> None:
    shop.order(payments=[("stripe", 3000, False), ("stripe", 1250, True)])
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.money("stripe", "void") == [(3000, "EUR")]
    assert shop.money("stripe") == [(1250, "EUR")]


@pytest.mark.parametrize(
    ("name", "units", "parts"),
    [
        ("one_unit_fits_the_largest", 1, [(333, "EUR")]),
        ("two_units_spill_over", 2, [(500, "EUR"), (166, "EUR")]),
        ("three_units_take_all_to_the_last_cent", 3, [(500, "EUR"), (300, "EUR"), (199, "EUR")]),
    ],
)
def test_a_sum_is_spread_from_the_largest_captured_payment_downward(
    shop: Shop, name: str, units: int, parts: list[tuple[int, str]]
) -> None:
    shop.order(
        lines=((3, 333), (1, 1)),
        payments=[("stripe", 200, True), ("stripe", 500, True), ("stripe", 300, True)],
    )
    case = shop.cancel(lines=[{"line_id": line_of("#1001", 1), "quantity": units}])
    assert case.state is CaseState.COMPLETE
    assert sorted(shop.money("stripe"), reverse=True) == parts, name
    assert sum(minor for minor, _ in shop.money("stripe")) == 333 * units


def test_a_currency_without_decimals_goes_back_in_whole_units(shop: Shop) -> None:
    shop.context = replace(shop.context, policy=Policy(auto_approve_limit=(("JPY", 50_000),)))
    shop.order(lines=((1, 1200),), currency="JPY")
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.money("stripe") == [(1200, "JPY")]


# ---------------------------------------------------------------- 8. honest messages


def test_every_message_is_sent_once_and_in_the_order_of_what_is_true(shop: Shop) -> None:
    shop.order()
    shop.cancel()
    shop.cancel()
    assert shop.mails()[:3] == [received(), cancelled(), refunded()]
    assert [x["recipient"] for x in shop.book("mailgun", "send_message")] == ["ada@customers.example"] * 3


def test_nobody_hears_that_money_was_sent_while_the_payer_calls_it_pending(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "slow_pending")
    case_id = shop.cancel(within_s=2 * DAY_S).case_id
    assert shop.states(case_id, "refund") == ["pending"]
    assert shop.mails() == [received(), cancelled()]
    shop.settle("stripe", refund=last_refund(shop), status="succeeded")
    shop.news("stripe", "refund.updated", last_refund(shop))
    assert shop.states(case_id, "refund") == ["succeeded"]
    assert shop.mails() == [received(), cancelled(), refunded()]


def test_nobody_hears_of_money_that_the_payer_refused(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    case = shop.cancel(within_s=DAY_S)
    assert case.state is CaseState.ATTENTION
    assert shop.mails() == [received(), cancelled()]
    assert shop.sums(payment_of("#1001")) == (4250, 0, 0)


def test_a_mail_whose_reply_was_lost_is_not_sent_twice(shop: Shop) -> None:
    shop.order()
    shop.fault("mailgun", "send_message", "lost_reply", times=3)
    shop.cancel(within_s=5 * DAY_S)
    assert sorted(shop.mails()) == sorted([received(), cancelled(), refunded()])


def test_a_dead_messenger_holds_no_refund(shop: Shop) -> None:
    shop.context = replace(shop.context, routing=BOOKS)
    shop.order(invoice="PAID")
    shop.fault("mailgun", "send_message", "status", status=401, times=500)
    shop.fault("slack", "*", "status", status=500, times=500)
    shop.cancel()
    assert shop.money("stripe") == WHOLE
    assert shop.mails() == []


def test_a_replay_of_the_refund_repeats_no_message(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    case = shop.cancel(within_s=DAY_S)
    plan = replay.preview(shop.context, replay.select(shop.context, target=case.case_id))
    for wave in replay.execute(shop.context, plan, operator="bo", reason="mended at Stripe"):
        drive(shop.context, wave)
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.mails() == [received(), cancelled(), refunded()]


# ---------------------------------------------------------------- 9. a person confirms judgement


def test_a_request_that_could_not_be_verified_waits_and_nothing_is_touched(shop: Shop) -> None:
    shop.order()
    asked = shop.receive(shop.ask(is_verified=False))
    drive(shop.context, asked.wave, within_s=9 * DAY_S)
    assert shop.case(asked.case_id).state is CaseState.HELD
    assert shop.book("shopify") == []
    assert shop.book("stripe") == []
    assert shop.mails() == [], "the customer may know nothing of it"


def test_whoever_asked_cannot_approve_or_decline(shop: Shop) -> None:
    shop.context = replace(shop.context, policy=Policy(auto_approve_limit=()))
    shop.order()
    case = shop.cancel(requested_by="ann")
    assert case.state is CaseState.HELD
    for decide in (people.approve, people.decline):
        with pytest.raises(RefusedError, match="somebody else must decide it"):
            decide(shop.context, case.case_id, operator="ann", reason="mine")
    assert shop.money("stripe") == []
    _, wave = people.approve(shop.context, case.case_id, operator="bo", reason="looks right")
    drive(shop.context, wave)
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.money("stripe") == WHOLE


def test_two_approvals_at_the_same_moment_pay_once(shop: Shop) -> None:
    shop.context = replace(shop.context, policy=Policy(auto_approve_limit=()))
    shop.order()
    case = shop.cancel()

    def approve(number: int) -> Wave | RefusedError:
        try:
            return people.approve(shop.context, case.case_id, operator=f"p{number}", reason="yes")[1]
        except RefusedError as refused:
            return refused

    waves = [x for x in at_once(4, approve) if isinstance(x, Wave)]
    assert len(waves) == 1
    drive(shop.context, waves[0])
    assert shop.money("stripe") == WHOLE


def test_an_order_number_that_fits_two_orders_goes_to_a_person(shop: Shop) -> None:
    shop.order("#1001")
    shop.order("#1002", name="#1001")
    case = shop.cancel("#1001")
    assert case.state is CaseState.ATTENTION
    assert shop.book("shopify") == []
    assert shop.book("stripe") == []
    assert shop.mails() == []


def test_a_declined_request_has_no_effect_but_the_word_to_the_customer(shop: Shop) -> None:
    shop.context = replace(shop.context, policy=Policy(auto_approve_limit=()))
    shop.order()
    case = shop.cancel()
    drive(shop.context, people.decline(shop.context, case.case_id, operator="bo", reason="too late"))
    assert shop.case(case.case_id).state is CaseState.DECLINED
    assert shop.book("shopify") == []
    assert shop.book("stripe") == []
    assert shop.mails() == [received(), declined()]
