"""Cases from their first event to their last step: real database, real connectors, practice vendors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from falcon import testing

from refundflow.domain.policy import Policy
from refundflow.domain.states import CaseState
from refundflow.flow import people, replay
from refundflow.flow.context import RefusedError
from refundflow.flow.settle import settle
from refundflow.flow.sweep import sweep
from refundflow.ingest.app import create_app
from refundflow.store import audit
from tests.support.drive import RUNNER, at_once, drive, run
from tests.support.practice import API_KEY, BOOKS, Shop, intent_of, line_of, order_id_of, payment_of

pytestmark = pytest.mark.integration

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def test_a_whole_order_is_cancelled_restocked_refunded_and_told_once_each(shop: Shop) -> None:
    shop.order()
    case = shop.cancel()
    assert case.state is CaseState.COMPLETE
    assert [line["target"]["name"] for line in shop.book("shopify", "cancel_order")] == ["#1001"]
    assert shop.restocked() == {"SKU-1": 2}
    assert shop.money("stripe") == [(4250, "EUR")]
    assert shop.money("shopify") == []
    assert shop.sums(payment_of("#1001")) == (4250, 0, 4250)
    assert shop.journal() == {"refunds": 4250, "clearing:stripe": -4250}
    assert len(shop.mails()) == 3, shop.mails()


def test_some_lines_are_taken_out_and_only_their_worth_goes_back(shop: Shop) -> None:
    shop.order(lines=((3, 890), (1, 1250)))
    case = shop.cancel(lines=[{"line_id": line_of("#1001", 1), "quantity": 2}])
    assert case.state is CaseState.COMPLETE
    assert shop.money("stripe") == [(1780, "EUR")]
    assert shop.restocked() == {"SKU-1": 2}
    assert shop.book("shopify", "cancel_order") == []


def test_an_order_with_books_is_credited_after_the_money_and_reported_to_staff_once(shop: Shop) -> None:
    shop.context = replace(shop.context, routing=BOOKS)
    shop.order(invoice="PAID")
    case = shop.cancel()
    assert case.state is CaseState.COMPLETE
    assert shop.money("xero", "create_credit_note") == [(4250, "EUR")]
    assert shop.money("xero", "record_refund") == [(4250, "EUR")]
    assert len(shop.book("slack", "post_message")) == 1


def test_the_books_wait_for_money_that_did_not_go(shop: Shop) -> None:
    shop.context = replace(shop.context, routing=BOOKS)
    shop.order(invoice="PAID")
    shop.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    assert shop.cancel(within_s=DAY_S).state is CaseState.ATTENTION
    assert shop.book("xero", "create_credit_note") == []
    assert len(shop.book("slack", "post_message")) == 1


def test_several_payments_go_back_each_on_its_own(shop: Shop) -> None:
    shop.order(lines=((3, 1990),), payments=[("stripe", 4000, True), ("stripe", 1970, True)])
    assert shop.cancel().state is CaseState.COMPLETE
    assert sorted(shop.money("stripe")) == [(1970, "EUR"), (4000, "EUR")]
    assert len(shop.book("shopify", "cancel_order")) == 1


def test_of_a_partly_shipped_order_the_rest_is_cancelled(shop: Shop) -> None:
    shop.order(lines=((2, 890, 1), (2, 1250)))
    case = shop.cancel()
    assert case.state is CaseState.COMPLETE
    assert shop.money("stripe") == [(890 + 2500, "EUR")]
    assert shop.restocked() == {"SKU-1": 1, "SKU-2": 2}
    assert shop.book("shopify", "cancel_order") == []


@pytest.mark.parametrize(
    ("name", "policy", "age_days", "state"),
    [
        ("waits_for_a_person", Policy(), 1, "held"),
        ("declined_by_policy", Policy(on_fulfilled="decline"), 1, "declined"),
        ("declined_after_the_window", Policy(return_window_days=3), 10, "declined"),
    ],
)
def test_a_shipped_order_is_not_touched_without_a_person(
    shop: Shop, name: str, policy: Policy, age_days: int, state: str
) -> None:
    shop.context = replace(shop.context, policy=policy)
    shop.order(lines=((1, 890, 1),), age_days=age_days)
    assert shop.cancel().state.value == state, name
    assert shop.book("shopify") == []
    assert shop.book("stripe") == []


def test_a_return_that_a_person_approved_is_restocked_and_refunded_once(shop: Shop) -> None:
    shop.order(lines=((1, 890, 1),))
    case = shop.cancel()
    _, wave = people.approve(shop.context, case.case_id, operator="bo", reason="the goods are back")
    drive(shop.context, wave)
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.money("stripe") == [(890, "EUR")]
    assert shop.restocked() == {"SKU-1": 1}
    assert shop.book("shopify", "cancel_order") == []


def test_an_order_that_nobody_knew_is_planned_when_it_is_there(shop: Shop) -> None:
    case = shop.cancel("#1001")
    assert case.state is CaseState.ATTENTION
    with pytest.raises(RefusedError, match="does not give the order"):
        people.replan(shop.context, case.case_id, operator="bo", reason="try")
    shop.order("#1001")
    _, wave = people.replan(shop.context, case.case_id, operator="bo", reason="imported late")
    drive(shop.context, wave)
    found = shop.case(case.case_id)
    assert (found.state, found.order_id) == (
        CaseState.COMPLETE,
        f"gid://shopify/Order/{order_id_of('#1001')}",
    )
    assert shop.money("stripe") == [(4250, "EUR")]


def test_three_sources_about_one_order_join_one_case_and_it_is_done_once(shop: Shop) -> None:
    shop.order()
    received = [shop.receive(shop.ask()) for _ in range(3)]
    assert [r.outcome for r in received] == ["opened", "joined", "joined"]
    assert len({r.case_id for r in received}) == 1
    for each in received:
        drive(shop.context, each.wave)
    assert shop.case(received[0].case_id).state is CaseState.COMPLETE
    assert shop.money("stripe") == [(4250, "EUR")]
    assert shop.restocked() == {"SKU-1": 2}
    assert len(shop.mails()) == 3


def test_sources_that_come_at_the_same_moment_join_one_case(shop: Shop) -> None:
    shop.order()
    events = [shop.ask() for _ in range(4)]
    received = at_once(4, lambda n: shop.receive(events[n]))
    assert sorted(r.outcome for r in received) == ["joined", "joined", "joined", "opened"]
    for each in received:
        drive(shop.context, each.wave)
    assert [c["state"] for c in shop.all_cases()] == ["complete"]
    assert shop.money("stripe") == [(4250, "EUR")]


def test_one_event_that_two_workers_handle_ends_as_one(shop: Shop) -> None:
    shop.order()
    event = shop.ask()
    outcomes = sorted(r.outcome for r in at_once(3, lambda _: shop.receive(event)))
    assert outcomes.count("opened") == 1
    assert len(shop.all_cases()) == 1
    assert len(shop.rows("SELECT 1 FROM steps WHERE kind = 'refund'")) == 1


def test_a_case_that_a_second_request_widens_gives_back_the_rest_and_no_more(shop: Shop) -> None:
    shop.order(lines=((2, 890), (1, 640)))
    first = shop.receive(shop.ask(lines=[{"line_id": line_of("#1001", 1), "quantity": 1}]))
    second = shop.receive(shop.ask())
    assert (second.outcome, second.case_id) == ("joined", first.case_id)
    for each in (first, second):
        drive(shop.context, each.wave)
    assert shop.case(first.case_id).state is CaseState.COMPLETE
    assert sum(minor for minor, _ in shop.money("stripe")) == 2 * 890 + 640
    assert shop.restocked() == {"SKU-1": 2, "SKU-2": 1}


def test_the_platforms_report_of_our_own_cancel_starts_nothing(shop: Shop) -> None:
    shop.order()
    case = shop.cancel()
    calls = shop.calls("shopify", "orderCancel")
    assert shop.news("shopify", "orders/cancelled", order_id_of("#1001")).outcome == "echo"
    refund = shop.book("stripe", "refund")[0]
    assert shop.news("stripe", "refund.created", refund["id"]).outcome == "echo"
    assert shop.news("stripe", "charge.refunded", refund["target"]["charge"]).outcome == "echo"
    assert len(shop.all_cases()) == 1
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.calls("shopify", "orderCancel") == calls
    assert shop.money("stripe") == [(4250, "EUR")]
    assert len(shop.mails()) == 3


def test_an_order_that_a_person_cancelled_in_the_shop_is_refunded_and_not_cancelled_again(
    shop: Shop,
) -> None:
    shop.order()
    shop.settle("shopify", order=order_id_of("#1001"), staff_cancel="CUSTOMER")
    received = shop.news("shopify", "orders/cancelled", order_id_of("#1001"))
    assert shop.case(received.case_id).state is CaseState.COMPLETE
    assert shop.calls("shopify", "orderCancel") == 0
    assert shop.money("stripe") == [(4250, "EUR")]
    assert shop.restocked() == {"SKU-1": 2}


def test_money_that_staff_gave_back_by_hand_is_not_given_back_again(shop: Shop) -> None:
    shop.order()
    shop.settle("stripe", payment_intent=intent_of("#1001"), dashboard_refund={"amount": 4250})
    assert shop.cancel().state is CaseState.COMPLETE
    assert shop.calls("stripe", "create_refund") == 0
    assert shop.money("stripe") == [(4250, "EUR")]


def test_an_event_that_comes_while_the_platform_is_away_waits_and_is_handled_later(shop: Shop) -> None:
    shop.order()
    shop.fault("shopify", "*", "status", status=503, times=1000)
    event = shop.ask()
    received = shop.receive(event)
    assert received.outcome.startswith("waits for shopify")
    assert received.retry_in_s is not None
    drive(shop.context, None, within_s=HOUR_S)
    assert shop.all_cases() == []
    (waiting,) = shop.rows("SELECT state, tries, note FROM events")
    assert waiting["state"] == "new"
    assert waiting["tries"] > 3
    shop.vendors.control("DELETE", "faults")
    drive(shop.context, None, within_s=HOUR_S)
    assert [c["state"] for c in shop.all_cases()] == ["complete"]
    assert shop.money("stripe") == [(4250, "EUR")]


def test_settling_a_finished_case_again_changes_nothing(shop: Shop) -> None:
    shop.order()
    case = shop.cancel()
    before = shop.rows("SELECT to_jsonb(s) AS row FROM steps s ORDER BY number")
    for _ in range(2):
        assert settle(shop.context, case.case_id, RUNNER).steps == ()
    for step_key in [s.step_key for s in shop.steps(case.case_id).values()]:
        run(shop.context, step_key)
    assert shop.rows("SELECT to_jsonb(s) AS row FROM steps s ORDER BY number") == before
    assert shop.case(case.case_id) == case
    assert shop.money("stripe") == [(4250, "EUR")]


def test_the_sweep_launches_what_is_due_and_nothing_else(shop: Shop) -> None:
    shop.order()
    event = shop.ask()
    assert sweep(shop.context).count == 0
    shop.clock.jump(11)
    assert sweep(shop.context).events == (event,)
    assert sweep(shop.context).count == 0
    received = shop.receive(event)
    assert received.wave is not None
    assert sweep(shop.context).count == 0
    shop.clock.jump(shop.context.relaunch_s + 1)
    launched = {launch.step_key for _, launch in sweep(shop.context).steps}
    assert launched == {x.step_key for x in received.wave.steps}
    assert sweep(shop.context).count == 0


def test_two_sweeps_at_the_same_moment_never_take_the_same_row(shop: Shop) -> None:
    events = [shop.ask(f"#{n}") for n in range(2001, 2031)]
    shop.clock.jump(60)
    taken = at_once(2, lambda _: sweep(shop.context, limit=20).events)
    assert sorted(x for each in taken for x in each) == sorted(set(events) & {x for e in taken for x in e})
    assert sum(len(each) for each in taken) in (20, 30)
    rest = sweep(shop.context, limit=200).events
    assert sorted([*(x for each in taken for x in each), *rest]) == sorted(events)


def test_losing_every_message_loses_no_case(shop: Shop) -> None:
    shop.order()
    shop.ask()
    drive(shop.context, None, within_s=HOUR_S)
    assert [c["state"] for c in shop.all_cases()] == ["complete"]
    assert shop.money("stripe") == [(4250, "EUR")]
    assert len(shop.mails()) == 3


def test_a_task_for_a_person_is_resolved_once_with_its_proof(shop: Shop) -> None:
    shop.order(payments=[("bank_transfer", 4250, True)])
    case = shop.cancel()
    key = shop.step(case.case_id, "human_task.1").step_key
    drive(shop.context, people.resolve(shop.context, key, operator="bo", proof="transfer 77"))
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.step(case.case_id, "human_task.1").reference == "transfer 77"
    with pytest.raises(RefusedError, match="no open human task"):
        people.resolve(shop.context, key, operator="bo", proof="again")


def test_a_refused_refund_that_is_discarded_gives_its_money_free_and_ends_the_case(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    case = shop.cancel()
    key = shop.step(case.case_id, "refund.1").step_key
    drive(shop.context, replay.discard(shop.context, key, operator="bo", reason="paid in cash"))
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.states(case.case_id, "refund") == ["skipped"]
    assert shop.sums(payment_of("#1001")) == (4250, 0, 0)
    assert shop.money("stripe") == []
    with pytest.raises(RefusedError, match="nothing to discard"):
        replay.discard(shop.context, key, operator="bo", reason="again")


def test_a_replay_after_a_definite_no_goes_out_under_the_next_key(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    case = shop.cancel()
    plan = replay.preview(
        shop.context, replay.select(shop.context, code=shop.step(case.case_id, "refund.1").code)
    )
    for wave in replay.execute(shop.context, plan, operator="bo", reason="mended"):
        drive(shop.context, wave)
    assert [x["idempotency_key"] for x in shop.book("stripe", "refund")] == [
        f"refundflow:{case.case_id}.refund.1:2"
    ]


def test_a_replay_is_refused_when_the_money_went_elsewhere_meanwhile(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "refuse", code="charge_not_refundable")
    case = shop.cancel()
    shop.settle("stripe", payment_intent=intent_of("#1001"), dashboard_refund={"amount": 4250})
    plan = replay.preview(shop.context, replay.select(shop.context, target=case.case_id))
    for wave in replay.execute(shop.context, plan, operator="bo", reason="mended"):
        drive(shop.context, wave, within_s=DAY_S)
    assert [x["by"] for x in shop.book("stripe", "refund")] == ["dashboard"]
    assert shop.case(case.case_id).state is CaseState.ATTENTION


def test_a_replay_of_a_cancel_that_was_refused_carries_the_whole_case_on(shop: Shop) -> None:
    shop.order()
    shop.fault("shopify", "orderCancel", "refuse")
    case = shop.cancel(within_s=DAY_S)
    assert case.state is CaseState.ATTENTION
    assert shop.money("stripe") == []
    plan = replay.preview(shop.context, replay.select(shop.context, target=case.case_id))
    for wave in replay.execute(shop.context, plan, operator="bo", reason="mended"):
        drive(shop.context, wave, within_s=DAY_S)
    assert shop.case(case.case_id).state is CaseState.COMPLETE
    assert shop.money("stripe") == [(4250, "EUR")]
    assert shop.restocked() == {"SKU-1": 2}


@pytest.mark.parametrize(
    ("name", "target", "why"),
    [
        ("no_case", "RF-NONE", "no case RF-NONE"),
        ("no_step", "RF-NONE.refund.1", "no step RF-NONE.refund.1"),
    ],
)
def test_what_is_not_there_is_not_replayed(shop: Shop, name: str, target: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        replay.select(shop.context, target=target)


def test_a_step_that_succeeded_is_not_replayed(shop: Shop) -> None:
    shop.order()
    case = shop.cancel()
    with pytest.raises(RefusedError, match="nothing to replay"):
        replay.select(shop.context, target=f"{case.case_id}.refund.1")


def test_the_audit_of_a_case_with_trouble_in_it_holds(shop: Shop) -> None:
    shop.order()
    shop.fault("stripe", "create_refund", "lost_reply")
    shop.cancel()
    verdict = shop.db.run(audit.verify)
    assert verdict.first_break is None
    assert verdict.chains == 3


def test_no_address_of_a_customer_stands_in_audit_or_attempts(shop: Shop) -> None:
    shop.order()
    shop.cancel()
    for table in ("audit", "attempts", "task_runs"):
        assert shop.rows(f"SELECT 1 FROM {table} t WHERE to_jsonb(t)::text LIKE '%ada@customers%'") == []


def test_what_the_front_door_tells_of_a_case_has_its_steps_and_nobodys_name_or_address(shop: Shop) -> None:
    shop.order()
    case = shop.cancel(requested_by="ann@shop.example", note="she moved to 12 Hill Road")
    client = testing.TestClient(create_app(shop.house), headers={"Authorization": f"Bearer {API_KEY}"})
    request = client.simulate_get("/v1/cancellations/1").json
    assert request == {
        "event_id": 1,
        "status": "handled",
        "case_id": case.case_id,
        "case_url": f"/v1/cases/{case.case_id}",
    }
    answer = client.simulate_get(f"/v1/cases/{case.case_id}")
    assert answer.json["state"] == "complete"
    assert [(s["kind"], s["amount_minor"]) for s in answer.json["steps"] if s["kind"] == "refund"] == [
        ("refund", 4250)
    ]
    told = [word for word in ("customers.example", "ann@", "Hill Road") if word in answer.text]
    assert told == []
