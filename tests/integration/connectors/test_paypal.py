"""PayPal's connector with the practice vendor: what the vendor's book says is what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.paypal import Credentials, PayPal, PayPalInbound, build, build_inbound
from refundflow.domain.commands import Refund, VoidPayment
from refundflow.domain.facts import DisputeState, PaymentFacts, PaymentState, RefundStatus
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    Reading,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import AlreadyDone, Done, NotFound, Pending, Permanent, Retryable, Unknown
from refundflow.sandbox import paypal as double
from refundflow.sandbox.base import Fault, How, Kind, Record, Subscription, World
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError
from tests.support.world_http import VENDORS, WorldWire

NAME = "paypal"
ORDER, CAPTURE, AUTHORISATION = "5O190127TN364715T", "2GG279541U471931P", "0VF52814937998046"
HOOK = "4JH86294D6297924G"
TOTAL = 9000
CREDENTIALS = Credentials(
    client_id=double.CLIENT_ID,
    client_secret=Secret(double.CLIENT_SECRET),
    webhook_id=HOOK,
    base_url=f"{VENDORS}/{NAME}",
    certificate_base_url=f"{VENDORS}/{NAME}",
    certificate_authority="practice",
)


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


class Shop:
    """A practice PayPal, its book, and the connector on it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.case_id = mint_case_id(self.now, 1)
        self.deliveries: list[Delivery] = []
        self.world = World([double.PayPal], clock=lambda: self.now, send=self.take)
        self.wire = WorldWire(self.world)
        self.paypal: PayPal = build(CREDENTIALS, self.wire, lambda: self.now)

    def take(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append(Delivery({name.lower(): value for name, value in headers.items()}, body))
        return 200

    def seed(
        self, *, settings: Record | None = None, balance: Record | None = None, **payment: Any
    ) -> Record:
        """One order with one payment, a capture of the whole where nothing else is said."""
        if not payment.keys() & {"authorization_id", "status"}:
            payment.setdefault("capture_id", CAPTURE)
        described = {
            "id": ORDER,
            "number": "1042",
            "currency": "EUR",
            "amount_minor": TOTAL,
            "custom_id": "shop-1042",
            "payments": [payment],
        }
        made: Record = self.world.seed(
            {NAME: {"settings": settings or {}, "balance_minor": balance or {}, "orders": [described]}}
        )[NAME]["orders"][0]
        return made

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def set(self, **settings: Any) -> None:
        self.world.seed({NAME: {"settings": settings}})

    def fault(self, kind: Kind, operation: str = "refund_capture", **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, how=How.RESET, **more))

    def command(
        self, minor: int = 4250, *, number: int = 1, key: int = 1, reference: str = CAPTURE
    ) -> Refund:
        step_key = mint_step_key(self.case_id, "refund", number)
        return Refund(
            step_key=step_key,
            key=wire_key(step_key, key),
            order_id="6001",
            order_number="#1042",
            payment_reference=reference,
            gateway="paypal",
            amount=eur(minor),
        )

    def void(self, minor: int = TOTAL, *, reference: str = AUTHORISATION) -> VoidPayment:
        step_key = mint_step_key(self.case_id, "refund", 9)
        return VoidPayment(
            step_key=step_key,
            key=wire_key(step_key, 1),
            order_id="6001",
            payment_reference=reference,
            amount=eur(minor),
        )

    def facts(self, reference: str = CAPTURE) -> PaymentFacts:
        found = self.paypal.read_payment("", reference)
        assert isinstance(found, PaymentFacts), found
        return found

    @property
    def book(self) -> list[tuple[str, int, str | None]]:
        """What really happened: effect, minor units, our reference."""
        return [
            (line["effect"], line["amount_minor"], line["reference"])
            for line in self.world.vendor(NAME).book.lines()
        ]

    @property
    def asked(self) -> list[str]:
        return [call["operation"] for call in self.world.calls]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def test_a_check_with_the_right_app_is_well_and_with_another_says_what_to_do(shop: Shop) -> None:
    assert shop.paypal.check().is_ok
    stranger = build(replace(CREDENTIALS, client_secret=Secret("wrong-secret")), shop.wire)
    with pytest.raises(NotSentError):
        stranger.check()


class TestRefund:
    def test_one_refund_is_one_line_and_read_again_by_our_reference(self, shop: Shop) -> None:
        shop.seed()
        command = shop.command()
        done = shop.paypal.refund(command)
        assert isinstance(done, Done)
        assert shop.book == [("refund", 4250, command.step_key)]
        assert shop.paypal.find_refund(command) == done
        refunds = shop.facts().refunds
        assert [(r.reference, r.amount.minor, r.status, r.step_key) for r in refunds] == [
            (done.reference, 4250, RefundStatus.SUCCEEDED, command.step_key)
        ]

    def test_the_same_key_again_is_the_same_refund(self, shop: Shop) -> None:
        shop.seed()
        command = shop.command()
        first = shop.paypal.refund(command)
        assert [shop.paypal.refund(command) for _ in range(3)] == [first] * 3
        assert shop.book == [("refund", 4250, command.step_key)]

    def test_a_reply_lost_after_the_act_is_found_and_not_resent(self, shop: Shop) -> None:
        shop.seed()
        shop.fault(Kind.LOST_REPLY)
        command = shop.command()
        with pytest.raises(MaybeSentError):
            shop.paypal.refund(command)
        assert isinstance(shop.paypal.find_refund(command), Done)
        assert shop.book == [("refund", 4250, command.step_key)]

    def test_a_request_lost_before_the_act_is_proved_absent_and_sent_again(self, shop: Shop) -> None:
        shop.seed()
        shop.fault(Kind.LOST_REQUEST)
        command = shop.command()
        with pytest.raises(MaybeSentError):
            shop.paypal.refund(command)
        assert isinstance(shop.paypal.find_refund(command), NotFound)
        assert isinstance(shop.paypal.refund(command), Done)
        assert shop.book == [("refund", 4250, command.step_key)]

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    @pytest.mark.parametrize("is_after_effect", [False, True])
    def test_a_failure_leaves_it_open_and_the_look_tells(
        self, shop: Shop, status: int, is_after_effect: bool
    ) -> None:
        shop.seed()
        shop.fault(Kind.STATUS, status=status, is_after_effect=is_after_effect)
        command = shop.command()
        assert isinstance(shop.paypal.refund(command), Unknown)
        assert isinstance(shop.paypal.find_refund(command), Done if is_after_effect else NotFound)
        assert isinstance(shop.paypal.refund(command), Done)
        assert shop.book == [("refund", 4250, command.step_key)]

    @pytest.mark.parametrize(
        ("kind", "status", "code"), [(Kind.STATUS, 429, "throttled"), (Kind.REFUSE_AUTH, 401, "unauthorised")]
    )
    def test_not_now_did_nothing(self, shop: Shop, kind: Kind, status: int, code: str) -> None:
        shop.seed()
        shop.fault(kind, status=status, times=2)
        said = shop.paypal.refund(shop.command())
        assert isinstance(said, Retryable)
        assert said.code == code
        assert shop.book == []

    def test_two_refunds_of_one_payment_are_two_lines(self, shop: Shop) -> None:
        shop.seed()
        first, second = shop.command(3000), shop.command(6000, number=2)
        done = [shop.paypal.refund(command) for command in (first, second)]
        assert [type(d) for d in done] == [Done, Done]
        assert shop.book == [("refund", 3000, first.step_key), ("refund", 6000, second.step_key)]
        assert [shop.paypal.find_refund(c) for c in (first, second)] == done
        assert shop.facts().refunded == TOTAL

    def test_all_of_it_gone_by_our_own_lost_call_is_found_as_ours(self, shop: Shop) -> None:
        shop.seed()
        shop.fault(Kind.LOST_REPLY)
        command = shop.command(TOTAL)
        with pytest.raises(MaybeSentError):
            shop.paypal.refund(command)
        # A key that PayPal has forgotten: it says no more than that all is gone.
        shop.now += timedelta(days=46)
        shop.set(order_life_days=365)
        assert isinstance(shop.paypal.refund(command), Unknown)
        assert isinstance(shop.paypal.find_refund(command), Done)
        assert shop.book == [("refund", TOTAL, command.step_key)]

    def test_a_part_sent_again_after_the_key_is_forgotten_meets_its_own_invoice_id(self, shop: Shop) -> None:
        shop.seed()
        command = shop.command(1000)
        shop.paypal.refund(command)
        shop.now += timedelta(days=46)
        assert isinstance(shop.paypal.refund(command), Unknown)
        assert shop.book == [("refund", 1000, command.step_key)]

    def test_all_of_it_gone_by_others_is_theirs(self, shop: Shop) -> None:
        shop.seed()
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": TOTAL})
        command = shop.command(TOTAL)
        assert isinstance(shop.paypal.refund(command), Unknown)
        found = shop.paypal.find_refund(command)
        assert isinstance(found, Permanent)
        assert found.code == "refunded_elsewhere"
        assert shop.facts().refunded_elsewhere == TOTAL
        assert shop.book == [("refund", TOTAL, None)]

    def test_one_that_waits_is_pending_until_it_arrives(self, shop: Shop) -> None:
        shop.seed()
        shop.fault(Kind.SLOW_PENDING)
        command = shop.command()
        pending = shop.paypal.refund(command)
        assert isinstance(pending, Pending)
        assert shop.paypal.find_refund(command) == pending
        assert shop.facts().refunded == 4250
        shop.settle(refund=pending.reference, status="COMPLETED")
        found = shop.paypal.find_refund(command)
        assert isinstance(found, Done)
        assert found.reference == pending.reference
        assert isinstance(shop.paypal.refund(command), Done)
        assert shop.book == [("refund", 4250, command.step_key)]

    def test_one_that_fails_later_is_told_and_may_go_again_under_a_fresh_key(self, shop: Shop) -> None:
        shop.seed()
        shop.fault(Kind.LATE_FAILURE)
        command = shop.command()
        assert isinstance(shop.paypal.refund(command), Done)
        shop.world.settle(NAME, {})
        found = shop.paypal.find_refund(command)
        assert isinstance(found, Permanent)
        assert found.code == "refund_failed"
        again = shop.command(key=2)
        assert isinstance(shop.paypal.find_refund(again), NotFound)
        done = shop.paypal.refund(again)
        assert isinstance(done, Done)
        assert shop.paypal.find_refund(again) == done
        assert [line[0] for line in shop.book] == ["refund", "refund_failed", "refund"]

    @pytest.mark.parametrize(
        ("_case", "seed", "minor", "expected"),
        [
            ("more than was paid", {}, TOTAL + 1, "Permanent REFUND_AMOUNT_EXCEEDED"),
            ("no balance", {"balance": {"EUR": 100}}, 4250, "Retryable unavailable"),
            ("not arrived yet", {"capture_id": CAPTURE, "status": "PENDING"}, 4250, "Retryable unavailable"),
            ("declined", {"capture_id": CAPTURE, "status": "DECLINED"}, 4250, "Permanent REFUND_NOT_ALLOWED"),
            ("too late", {"created": "2026-01-05T09:00:00Z"}, 4250, "Permanent REFUND_TIME_LIMIT_EXCEEDED"),
            ("of another app", {"refund_issue": "REFUND_IS_RESTRICTED"}, 4250, "Permanent REFUND_IS_RESTRICTED"),
            (
                "a part while a case is open",
                {"dispute": {"stage": "INQUIRY"}},
                4250,
                "Permanent TRANSACTION_DISPUTED",
            ),
            ("all while a case is open", {"dispute": {"stage": "INQUIRY"}}, TOTAL, "Done "),
            (
                "while the bank takes it",
                {"dispute": {"stage": "CHARGEBACK"}},
                TOTAL,
                "Permanent REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK",
            ),
        ],
    )  # fmt: skip
    def test_what_paypal_says_to_it(
        self, shop: Shop, _case: str, seed: Any, minor: int, expected: str
    ) -> None:
        shop.seed(**seed)
        said = shop.paypal.refund(shop.command(minor))
        assert f"{type(said).__name__} {getattr(said, 'code', '')}" == expected
        assert len(shop.book) == (1 if isinstance(said, Done) else 0)

    def test_a_token_that_ran_out_is_fetched_anew_and_the_refund_sent_once(self, shop: Shop) -> None:
        shop.seed()
        shop.paypal.check()
        shop.settle(token="expired")
        command = shop.command()
        assert isinstance(shop.paypal.refund(command), Done)
        assert shop.book == [("refund", 4250, command.step_key)]

    @pytest.mark.parametrize("reference", [f"order:{ORDER}", AUTHORISATION])
    def test_a_capture_is_found_by_its_order_or_authorisation(self, shop: Shop, reference: str) -> None:
        shop.seed(capture_id=CAPTURE, authorization_id=AUTHORISATION)
        command = shop.command(reference=reference)
        assert isinstance(shop.paypal.refund(command), Done)
        assert isinstance(shop.paypal.find_refund(command), Done)
        assert shop.facts(reference).reference == CAPTURE
        assert shop.book == [("refund", 4250, command.step_key)]

    @pytest.mark.parametrize(("minor", "value"), [(120_000, "1200"), (50_000, "500")])
    def test_forints_are_whole(self, shop: Shop, minor: int, value: str) -> None:
        described = {
            "id": ORDER,
            "currency": "HUF",
            "amount_minor": 120_000,
            "payments": [{"capture_id": CAPTURE}],
        }
        shop.world.seed({NAME: {"orders": [described]}})
        command = replace(shop.command(), amount=Money(minor, "HUF"))
        assert isinstance(shop.paypal.refund(command), Done)
        assert shop.facts().refunded == minor
        assert shop.facts().captured == Money(120_000, "HUF")


class TestOldOrders:
    """PayPal no longer shows the order; the capture and the key are all there is."""

    OLD = "2026-10-01T09:00:00Z"

    @pytest.fixture
    def old(self, shop: Shop) -> Shop:
        shop.seed(created=self.OLD)
        shop.set(order_life_days=-1)
        return shop

    def test_a_lost_reply_is_answered_by_the_key_and_stays_one_line(self, old: Shop) -> None:
        old.fault(Kind.LOST_REPLY)
        command = old.command()
        with pytest.raises(MaybeSentError):
            old.paypal.refund(command)
        assert isinstance(old.paypal.find_refund(command), NotFound)
        assert isinstance(old.paypal.refund(command), Done)
        assert old.book == [("refund", 4250, command.step_key)]

    def test_when_the_key_may_be_forgotten_nothing_is_proved(self, old: Shop) -> None:
        command = old.command()
        old.paypal.refund(command)
        old.now += timedelta(days=45)
        assert isinstance(old.paypal.find_refund(command), Unknown)

    def test_what_is_left_is_known_only_where_it_is_all_or_nothing(self, old: Shop) -> None:
        assert old.facts().refunded == 0
        old.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        part = old.paypal.read_payment("", CAPTURE)
        assert isinstance(part, Permanent)
        assert part.code == "refunds_unknown"
        old.settle(capture=CAPTURE, dashboard_refund={"amount_minor": TOTAL - 1000})
        assert old.facts().refunded == TOTAL


class TestVoid:
    def test_an_authorisation_is_released_once(self, shop: Shop) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED")
        facts = shop.facts(AUTHORISATION)
        assert (facts.state, facts.authorised) == (PaymentState.AUTHORISED, eur(TOTAL))
        assert shop.paypal.void_payment(shop.void()) == Done(AUTHORISATION)
        assert shop.paypal.find_void_payment(shop.void()) == Done(AUTHORISATION)
        assert shop.paypal.void_payment(shop.void()) == AlreadyDone(AUTHORISATION)
        assert [line[:2] for line in shop.book] == [("void", TOTAL)]
        assert shop.facts(AUTHORISATION).state is PaymentState.VOIDED

    def test_a_reply_lost_after_the_act_is_found(self, shop: Shop) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED")
        shop.fault(Kind.LOST_REPLY, "void_authorization")
        with pytest.raises(MaybeSentError):
            shop.paypal.void_payment(shop.void())
        assert shop.paypal.find_void_payment(shop.void()) == Done(AUTHORISATION)
        assert len(shop.book) == 1

    def test_a_request_lost_before_the_act_is_proved_absent(self, shop: Shop) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED")
        shop.fault(Kind.LOST_REQUEST, "void_authorization")
        with pytest.raises(MaybeSentError):
            shop.paypal.void_payment(shop.void())
        assert isinstance(shop.paypal.find_void_payment(shop.void()), NotFound)
        assert shop.book == []

    def test_an_orders_authorisation_is_released_by_the_orders_name(self, shop: Shop) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED")
        assert shop.facts(f"order:{ORDER}").reference == AUTHORISATION
        assert shop.paypal.void_payment(shop.void(reference=f"order:{ORDER}")) == Done(AUTHORISATION)

    @pytest.mark.parametrize("captured", [TOTAL, 4000])
    def test_what_was_captured_meanwhile_is_not_released(self, shop: Shop, captured: int) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED")
        shop.settle(authorization=AUTHORISATION, capture_minor=captured)
        for said in (shop.paypal.void_payment(shop.void()), shop.paypal.find_void_payment(shop.void())):
            assert isinstance(said, Permanent)
            assert said.code == "captured"
        assert shop.book == []
        facts = shop.facts(AUTHORISATION)
        assert (facts.state, facts.captured.minor, facts.authorised.minor) == (
            PaymentState.CAPTURED,
            captured,
            TOTAL - captured,
        )

    def test_a_reauthorisation_is_not_released(self, shop: Shop) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED", parent="PARENT")
        said = shop.paypal.void_payment(shop.void())
        assert isinstance(said, Permanent)
        assert said.code == "CANNOT_BE_VOIDED"
        assert shop.book == []


class TestDisputes:
    @pytest.mark.parametrize(
        ("_case", "described", "state", "is_part_refundable"),
        [
            ("an inquiry", {"stage": "INQUIRY"}, DisputeState.WARNING, False),
            ("a claim", {"stage": "CHARGEBACK", "channel": "INTERNAL"}, DisputeState.OPEN, False),
            ("a chargeback", {"stage": "CHARGEBACK"}, DisputeState.OPEN, True),
            ("won", {"status": "RESOLVED"}, DisputeState.WON, True),
            (
                "lost",
                {"status": "RESOLVED", "outcome": "RESOLVED_BUYER_FAVOUR"},
                DisputeState.LOST,
                True,
            ),
        ],
    )
    def test_they_are_read_with_the_payment(
        self, shop: Shop, _case: str, described: Any, state: DisputeState, is_part_refundable: bool
    ) -> None:
        made = shop.seed(dispute=described)
        facts = shop.facts()
        assert (facts.dispute, facts.is_part_refundable) == (state, is_part_refundable)
        assert facts.dispute_reference == made["payments"][0]["dispute"]

    def test_what_a_lost_claim_took_is_gone(self, shop: Shop) -> None:
        made = shop.seed(dispute={"stage": "CHARGEBACK", "channel": "INTERNAL"})
        shop.settle(dispute=made["payments"][0]["dispute"], status="RESOLVED")
        facts = shop.facts()
        assert (facts.dispute, facts.refunded) == (DisputeState.LOST, TOTAL)

    def test_without_a_list_there_is_no_dispute(self, shop: Shop) -> None:
        for is_absent in (True, False):
            shop.seed(settings={"is_empty_list_absent": is_absent})
            assert shop.facts().dispute is DisputeState.NONE


class TestWebhooks:
    @pytest.fixture(params=["certificate", "api"])
    def door(self, request: pytest.FixtureRequest, shop: Shop) -> PayPalInbound:
        shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/hooks/paypal", HOOK))
        return build_inbound(replace(CREDENTIALS, webhook_check=request.param), shop.wire)

    def told(self, shop: Shop, door: PayPalInbound) -> list[Reading]:
        shop.world.webhooks.wait_idle()
        readings = []
        for delivery in shop.deliveries:
            verified = door.verify(delivery, shop.now)
            assert isinstance(verified, Verified), verified
            readings.append(door.read_event(verified.topic, delivery.body))
        return readings

    def test_our_refund_and_somebody_elses_are_told_apart(self, shop: Shop, door: PayPalInbound) -> None:
        shop.seed()
        command = shop.command()
        done = shop.paypal.refund(command)
        assert isinstance(done, Done)
        other = shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        assert self.told(shop, door) == [
            RefundSeen(NAME, CAPTURE, done.reference, RefundStatus.SUCCEEDED, eur(4250), command.step_key),
            RefundSeen(NAME, CAPTURE, other["id"], RefundStatus.SUCCEEDED, eur(1000)),
        ]

    def test_a_dispute_is_told_from_beginning_to_end(self, shop: Shop, door: PayPalInbound) -> None:
        shop.seed()
        opened = shop.settle(capture=CAPTURE, open_dispute={"stage": "CHARGEBACK"})
        shop.settle(dispute=opened["dispute_id"], status="RESOLVED", outcome="RESOLVED_SELLER_FAVOUR")
        readings = self.told(shop, door)
        assert all(isinstance(r, DisputeSeen) and r.payment_reference == CAPTURE for r in readings)
        assert [(r.state, r.dispute_reference) for r in readings if isinstance(r, DisputeSeen)] == [
            (DisputeState.OPEN, opened["dispute_id"]),
            (DisputeState.OPEN, f"reversal:{CAPTURE}"),
            (DisputeState.WON, opened["dispute_id"]),
        ]

    def test_other_events_ask_nothing(self, shop: Shop, door: PayPalInbound) -> None:
        shop.seed(authorization_id=AUTHORISATION, status="AUTHORISED")
        shop.paypal.void_payment(shop.void())
        shop.settle(order=ORDER, approval="reversed")
        assert [type(r) for r in self.told(shop, door)] == [Irrelevant, Irrelevant]

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: Delivery(d.headers, d.body.replace(b"10.00", b"90.00")),
            lambda d: Delivery(d.headers, d.body.replace(b'","', b'", "')),
            lambda d: Delivery(d.headers | {"paypal-transmission-time": "2026-11-23T12:00:01Z"}, d.body),
            lambda d: Delivery(d.headers | {"paypal-transmission-id": "00000000"}, d.body),
            lambda d: Delivery(
                {n: v for n, v in d.headers.items() if n != "paypal-transmission-sig"}, d.body
            ),
        ],
    )
    def test_a_delivery_that_was_changed_is_refused(
        self, shop: Shop, door: PayPalInbound, change: Callable[[Delivery], Delivery]
    ) -> None:
        shop.seed()
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        shop.world.webhooks.wait_idle()
        (delivery,) = shop.deliveries
        assert isinstance(door.verify(change(delivery), shop.now), Refused)
        assert isinstance(door.verify(delivery, shop.now), Verified)

    def test_a_delivery_for_another_webhook_is_refused(self, shop: Shop, door: PayPalInbound) -> None:
        shop.seed()
        shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/hooks/paypal", "WEBHOOK_ID"))
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        shop.world.webhooks.wait_idle()
        assert isinstance(door.verify(shop.deliveries[0], shop.now), Refused)

    def test_a_foreign_certificate_is_refused(self, shop: Shop, door: PayPalInbound) -> None:
        shop.seed()
        shop.settle(certificate="foreign")
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        shop.world.webhooks.wait_idle()
        assert isinstance(door.verify(shop.deliveries[0], shop.now), Refused)

    def test_a_renewed_certificate_is_fetched(self, shop: Shop, door: PayPalInbound) -> None:
        shop.seed()
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        shop.world.webhooks.wait_idle()
        shop.settle(certificate="renewed")
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 500})
        assert len(self.told(shop, door)) == 2

    @pytest.mark.parametrize("kind", [Kind.LOST_REPLY, Kind.LOST_REQUEST, Kind.STATUS])
    def test_when_paypal_is_away_nobody_is_refused(self, shop: Shop, door: PayPalInbound, kind: Kind) -> None:
        shop.seed()
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
        shop.world.webhooks.wait_idle()
        for operation in ("get_certificate", "verify_webhook_signature"):
            shop.fault(kind, operation, status=503)
        with pytest.raises((NotSentError, MaybeSentError)):
            door.verify(shop.deliveries[0], shop.now)
        assert isinstance(door.verify(shop.deliveries[0], shop.now), Verified)


def test_an_expired_certificate_is_refused(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/hooks/paypal", HOOK))
    shop.seed()
    shop.settle(certificate="expired")
    shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
    shop.world.webhooks.wait_idle()
    door = build_inbound(CREDENTIALS, shop.wire)
    assert door.verify(shop.deliveries[0], shop.now) == Refused("the certificate is not valid now")


def test_a_certificate_is_fetched_without_our_token(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/hooks/paypal", HOOK))
    shop.seed()
    shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
    shop.world.webhooks.wait_idle()
    build_inbound(CREDENTIALS, shop.wire).verify(shop.deliveries[0], shop.now)
    assert shop.asked == ["get_certificate"]


def test_without_the_practice_word_a_certificate_that_vouches_for_itself_is_refused(shop: Shop) -> None:
    shop.world.webhooks.subscribe(NAME, Subscription("http://shop.example/hooks/paypal", HOOK))
    shop.seed()
    shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1000})
    shop.world.webhooks.wait_idle()
    strict = build_inbound(replace(CREDENTIALS, certificate_authority=""), shop.wire)
    assert isinstance(strict.verify(shop.deliveries[0], shop.now), Refused)
