"""Stripe: what is sent, what every answer is taken for, and what its deliveries say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Health
from refundflow.connectors.stripe import (
    CONCLUSIVE_S,
    REFUSALS,
    SPEC,
    Credentials,
    Means,
    Stripe,
    StripeInbound,
    build,
    dispute_state,
    from_units,
    to_units,
)
from refundflow.domain.commands import Refund, VoidPayment
from refundflow.domain.facts import (
    DisputeState,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    PaymentRefundsChanged,
    Reading,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    Done,
    Found,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import Form, MaybeSentError, Response
from refundflow.transport.signatures import sign_hex
from tests.support.fake_http import FakeHttp, FakeWire, answer

STEP = StepKey("RF-00K3ZQ4M7ABCDEF.refund.1")
KEY = wire_key(STEP, 1)
PI = "pi_3Practice"
EUR = Money(4250, "EUR")
COMMAND = Refund(
    step_key=STEP,
    key=KEY,
    order_id="6001",
    order_number="1042",
    payment_reference=PI,
    gateway="stripe",
    amount=EUR,
)
VOID = VoidPayment(
    step_key=StepKey("RF-00K3ZQ4M7ABCDEF.void.1"),
    key="refundflow:RF-00K3ZQ4M7ABCDEF.void.1:1",
    order_id="6001",
    payment_reference=PI,
    amount=EUR,
)


def refund(**changes: Any) -> dict[str, Any]:
    return {
        "object": "refund",
        "id": "re_1",
        "amount": 4250,
        "currency": "eur",
        "status": "succeeded",
        "charge": "ch_1",
        "payment_intent": PI,
        "metadata": {"refundflow_refund": STEP, "refundflow_key": KEY, "refundflow_order": "1042"},
        **changes,
    }


def foreign(reference: str = "re_9", amount: int = 1000, **changes: Any) -> dict[str, Any]:
    return refund(id=reference, amount=amount, metadata={}, **changes)


def intent(**changes: Any) -> dict[str, Any]:
    return {
        "object": "payment_intent",
        "id": PI,
        "status": "succeeded",
        "amount": 4250,
        "amount_received": 4250,
        "amount_capturable": 0,
        "currency": "eur",
        "latest_charge": {"object": "charge", "id": "ch_1", "disputed": False, "metadata": {}},
        "metadata": {"order": "1042"},
        **changes,
    }


AUTHORISED = {"status": "requires_capture", "amount_received": 0, "amount_capturable": 4250}


def charge(**changes: Any) -> dict[str, Any]:
    return {
        "object": "charge",
        "id": "ch_1",
        "status": "succeeded",
        "amount": 4250,
        "amount_captured": 4250,
        "captured": True,
        "refunded": False,
        "disputed": False,
        "currency": "eur",
        "metadata": {"order": "1042"},
        **changes,
    }


def dispute(status: str, reference: str = "dp_1", **changes: Any) -> dict[str, Any]:
    return {
        "object": "dispute",
        "id": reference,
        "status": status,
        "amount": 4250,
        "currency": "eur",
        "charge": "ch_1",
        "payment_intent": PI,
        "reason": "product_not_received",
        **changes,
    }


def page(*objects: Any, more: bool = False) -> Response:
    return answer(200, {"object": "list", "data": list(objects), "has_more": more, "url": "/v1/x"})


def error(
    status: int, code: str = "", kind: str = "invalid_request_error", headers: Mapping[str, str] | None = None
) -> Response:
    told = {"type": kind, "message": "told why", **({"code": code} if code else {})}
    return answer(status, {"error": told}, {"Request-Id": "req_1", **(headers or {})})


class TestRefundRequest:
    def sent(self, command: Refund) -> tuple[str, str, Form | None, Mapping[str, str]]:
        http = FakeHttp(answer(500))
        Stripe(http).refund(command)
        return http.sent.method, http.sent.path, http.sent.form, http.sent.headers

    def test_amount_reference_key_and_our_references_are_always_said(self) -> None:
        assert self.sent(COMMAND) == (
            "POST",
            "/v1/refunds",
            [
                ("payment_intent", PI),
                ("amount", "4250"),
                ("reason", "requested_by_customer"),
                ("metadata[refundflow_refund]", STEP),
                ("metadata[refundflow_key]", KEY),
                ("metadata[refundflow_order]", "1042"),
            ],
            {"Idempotency-Key": KEY},
        )

    @pytest.mark.parametrize(
        ("reference", "parameter"), [("pi_3A", "payment_intent"), ("ch_3A", "charge"), ("py_3A", "charge")]
    )
    def test_the_references_prefix_says_what_it_names(self, reference: str, parameter: str) -> None:
        form = self.sent(replace(COMMAND, payment_reference=reference))[2]
        assert form is not None
        assert form[0] == (parameter, reference)

    @pytest.mark.parametrize(
        ("reason", "said"),
        [
            ("customer", "requested_by_customer"),
            ("duplicate", "duplicate"),
            ("fraud", None),
            ("staff", None),
            ("other", None),
        ],
    )
    def test_only_reasons_without_a_side_effect_are_said(self, reason: str, said: str | None) -> None:
        form = self.sent(replace(COMMAND, reason=reason))[2]
        assert form is not None
        assert dict(form).get("reason") == said

    def test_an_order_without_a_number_leaves_no_empty_metadata(self) -> None:
        form = self.sent(replace(COMMAND, order_number=""))[2]
        assert form is not None
        assert "metadata[refundflow_order]" not in dict(form)

    @pytest.mark.parametrize("reference", ["", "7001", "pi_", "pi_3/../x", "pi_3?amount=1", "re_1", "pi_ä"])
    def test_a_reference_that_is_none_of_stripes_is_never_put_on_the_wire(self, reference: str) -> None:
        http = FakeHttp()
        stripe = Stripe(http)
        command = replace(COMMAND, payment_reference=reference)
        for said in (stripe.refund(command), stripe.find_refund(command), stripe.read_payment("", reference)):
            assert isinstance(said, Permanent)
            assert said.code == "unknown_reference"
        assert http.requests == []

    @pytest.mark.parametrize(
        ("_case", "amount"),
        [
            ("a currency whose unit is not sure", Money(500, "UGX")),
            ("half an ariary", Money(150, "MGA")),
            ("nothing", Money(0, "EUR")),
            ("less than nothing", Money(-1, "EUR")),
        ],
    )
    def test_an_amount_that_cannot_be_said_exactly_is_not_sent(self, _case: str, amount: Money) -> None:
        http = FakeHttp()
        said = Stripe(http).refund(replace(COMMAND, amount=amount))
        assert isinstance(said, Permanent)
        assert said.code == "amount_unsupported"
        assert http.requests == []


class TestAmounts:
    @pytest.mark.parametrize(
        ("_case", "amount", "units"),
        [
            ("cents", Money(4250, "EUR"), 4250),
            ("no decimals", Money(500, "JPY"), 500),
            ("three decimals", Money(5120, "KWD"), 5120),
            ("two decimals by tradition", Money(5, "ISK"), 500),
            ("none, against ISO", Money(1200, "MGA"), 12),
        ],
    )
    def test_minor_units_and_stripes_units_are_turned_into_each_other(
        self, _case: str, amount: Money, units: int
    ) -> None:
        assert to_units(amount) == units
        assert from_units(units, amount.currency.lower()) == amount

    @pytest.mark.parametrize(
        ("_case", "units", "currency"),
        [
            ("a float", 42.5, "eur"),
            ("a truth", True, "eur"),
            ("a text", "4250", "eur"),
            ("less than nothing", -1, "eur"),
            ("no currency", 1, None),
            ("a currency that is none", 1, "e1r"),
            ("a currency too long", 1, "euro"),
            ("half a krona", 150, "isk"),
            ("a currency whose unit is not sure", 500, "ugx"),
        ],
    )
    def test_what_is_no_amount_is_not_read_as_one(self, _case: str, units: Any, currency: Any) -> None:
        assert from_units(units, currency) is None


class TestRefundAnswers:
    @pytest.mark.parametrize(
        ("_case", "response", "outcome"),
        [
            ("sent", answer(200, refund()), Done("re_1")),
            ("on its way", answer(200, refund(status="pending")), Pending("re_1")),
            ("the customer must act", answer(200, refund(status="requires_action")), Pending("re_1")),
            (
                "failed at once",
                answer(200, refund(status="failed", failure_reason="expired_or_canceled_card")),
                Permanent("refund_failed", "re_1: expired_or_canceled_card"),
            ),
            (
                "cancelled",
                answer(200, refund(status="canceled")),
                Permanent("refund_failed", "re_1: no reason given"),
            ),
            (
                "another amount",
                answer(200, refund(amount=4251)),
                Permanent("amount_mismatch", "asked for 42.50 EUR, Stripe has 42.51 EUR as re_1"),
            ),
            (
                "another currency",
                answer(200, refund(currency="usd")),
                Permanent("amount_mismatch", "asked for 42.50 EUR, Stripe has 42.50 USD as re_1"),
            ),
            (
                "a status that is new",
                answer(200, refund(status="held")),
                Unknown("re_1 has a status that we do not know"),
            ),
            ("no status", answer(200, refund(status=None)), Unknown("re_1 has a status that we do not know")),
            ("no id", answer(200, refund(id="")), Unknown("the refund cannot be read")),
            (
                "an amount that is none",
                answer(200, refund(amount="4250")),
                Unknown("the refund cannot be read"),
            ),
            ("another object", answer(200, charge()), Unknown("no clear answer, status 200")),
            ("created instead of OK", answer(201, refund()), Unknown("no clear answer, status 201")),
        ],
    )
    def test_only_the_explicit_word_counts(self, _case: str, response: Response, outcome: Outcome) -> None:
        assert Stripe(FakeHttp(response)).refund(COMMAND) == outcome

    @pytest.mark.parametrize(
        ("_case", "response", "outcome"),
        [
            ("already refunded, who knows by whom", error(400, "charge_already_refunded"), Unknown),
            ("charged back", error(400, "charge_disputed"), "charge_disputed"),
            ("charged back, in other words", error(400, "refund_disputed_payment"), "charge_disputed"),
            ("not refundable", error(400, "charge_not_refundable"), "charge_not_refundable"),
            ("too much", error(400, "amount_too_large"), "amount_too_large"),
            ("too little balance", error(400, "balance_insufficient"), "balance_insufficient"),
            ("no such payment", error(404, "resource_missing"), "resource_missing"),
            ("no code", error(400), "invalid_request_error"),
            ("a card's no", error(402, "card_declined", "card_error"), "card_declined"),
            ("our key with other words", error(400, "", "idempotency_error"), "idempotency_error"),
            ("trouble of theirs under a 4xx", error(400, "", "api_error"), Unknown),
            ("a dependency of theirs failed", error(424, "x"), Unknown),
            ("broken", error(500, "", "api_error"), Unknown),
            ("away", answer(503, "<html>"), Unknown),
            ("a no without a shape", answer(400, {"message": "no"}), Unknown),
            ("a no whose error is a text", answer(400, {"error": "no"}), Unknown),
        ],
    )
    def test_refusals(self, _case: str, response: Response, outcome: str | type) -> None:
        said = Stripe(FakeHttp(response)).refund(COMMAND)
        if isinstance(outcome, str):
            assert isinstance(said, Permanent)
            assert said.code == outcome
            assert "told why (req_1)" in said.reason
        else:
            assert type(said) is outcome

    @pytest.mark.parametrize(
        ("_case", "response", "outcome"),
        [
            (
                "too often",
                error(429, "rate_limit"),
                Retryable("throttled", "Stripe is asked too often (req_1)"),
            ),
            (
                "too often, with a hint",
                error(429, "lock_timeout", headers={"Retry-After": "3"}),
                Retryable("throttled", "Stripe is asked too often (req_1)", 3.0),
            ),
            (
                "the object is locked",
                error(409, "lock_timeout"),
                Retryable("unavailable", "lock_timeout: told why (req_1)"),
            ),
        ],
    )
    def test_not_now_is_tried_again_with_the_same_key(
        self, _case: str, response: Response, outcome: Retryable
    ) -> None:
        assert Stripe(FakeHttp(response)).refund(COMMAND) == outcome

    def test_a_key_that_is_still_at_work_is_looked_up(self) -> None:
        said = Stripe(FakeHttp(error(409, "idempotency_key_in_use"))).refund(COMMAND)
        assert said == Unknown("idempotency_key_in_use: look who did it: told why (req_1)")

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_key_says_what_to_do(self, status: int) -> None:
        said = Stripe(FakeHttp(error(status))).refund(COMMAND)
        assert isinstance(said, Retryable)
        assert said.code == "unauthorised"
        assert "REFUNDFLOW_STRIPE_SECRET_KEY" in said.reason

    @pytest.mark.parametrize(
        ("_case", "status", "code", "kind", "says", "family"),
        [
            ("a plain no that may pass", 400, "x", "invalid_request_error", "true", Retryable),
            ("a plain no that stays", 400, "x", "invalid_request_error", "false", Permanent),
            (
                "a not-now that is none",
                409,
                "idempotency_key_in_use",
                "invalid_request_error",
                "false",
                Unknown,
            ),
            ("trouble of theirs is looked at", 500, "", "api_error", "true", Unknown),
            (
                "who refunded it is looked at",
                400,
                "charge_already_refunded",
                "invalid_request_error",
                "true",
                Unknown,
            ),
            ("the bank has the money", 400, "charge_disputed", "invalid_request_error", "true", Permanent),
            ("a fault of ours stays one", 400, "", "idempotency_error", "true", Permanent),
        ],
    )
    def test_stripes_word_on_retrying_is_believed_where_a_repeat_is_harmless(
        self, _case: str, status: int, code: str, kind: str, says: str, family: type
    ) -> None:
        response = error(status, code, kind, {"Stripe-Should-Retry": says})
        assert type(Stripe(FakeHttp(response)).refund(COMMAND)) is family

    def test_no_code_in_the_table_is_ever_taken_for_a_yes(self) -> None:
        for code, means in REFUSALS.items():
            said = Stripe(FakeHttp(error(400, code))).refund(COMMAND)
            expected = {Means.LOOK: Unknown, Means.DISPUTED: Permanent, Means.AGAIN: Retryable}[means]
            assert type(said) is expected, code

    def test_a_lost_answer_is_passed_on_as_it_is(self) -> None:
        with pytest.raises(MaybeSentError):
            Stripe(FakeHttp(MaybeSentError("reset"))).refund(COMMAND)


class TestFindRefund:
    @pytest.mark.parametrize(
        ("_case", "listed", "found"),
        [
            ("ours, sent", [foreign(), refund()], Done("re_1")),
            ("ours, on its way", [refund(status="pending")], Pending("re_1")),
            (
                "ours, failed",
                [refund(status="failed", failure_reason="declined")],
                Permanent("refund_failed", "re_1: declined"),
            ),
            (
                "ours, with another amount",
                [refund(amount=4000)],
                Permanent("amount_mismatch", "asked for 42.50 EUR, Stripe has 40.00 EUR as re_1"),
            ),
            (
                "ours, in a state that is new",
                [refund(status="held")],
                Unknown("re_1 has a status that we do not know"),
            ),
            (
                "ours twice",
                [refund(), refund(id="re_2")],
                Done("re_1", "also refunded by re_2"),
            ),
            ("the second try went through", [refund(id="re_2"), refund(status="failed")], Done("re_2")),
            (
                "none at all",
                [],
                NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference"),
            ),
            (
                "one that cannot be read might be ours",
                [{"object": "refund"}],
                Unknown("the list of refunds cannot be read"),
            ),
        ],
    )
    def test_the_refunds_metadata_tells(self, _case: str, listed: list[Any], found: Found) -> None:
        http = FakeHttp(page(*listed))
        assert Stripe(http).find_refund(COMMAND) == found
        assert http.calls == ["GET /v1/refunds"]
        assert http.sent.params == [("payment_intent", PI), ("limit", "100")]

    @pytest.mark.parametrize(
        ("_case", "failed_key", "asked_key", "found"),
        [
            ("an earlier key does not speak", f"refundflow:{STEP}:1", f"refundflow:{STEP}:2", NotFound),
            ("the same key speaks", f"refundflow:{STEP}:2", f"refundflow:{STEP}:2", Permanent),
            ("a later key speaks", f"refundflow:{STEP}:3", f"refundflow:{STEP}:2", Permanent),
            ("a refund without a key is an early one", "", f"refundflow:{STEP}:1", NotFound),
            ("a command without a key sees all", f"refundflow:{STEP}:1", "", Permanent),
        ],
    )
    def test_after_a_replay_the_old_failure_does_not_speak_for_the_new_try(
        self, _case: str, failed_key: str, asked_key: str, found: type
    ) -> None:
        old = refund(status="failed", metadata={"refundflow_refund": STEP, "refundflow_key": failed_key})
        said = Stripe(FakeHttp(page(old))).find_refund(replace(COMMAND, key=asked_key))
        assert type(said) is found

    def test_all_pages_are_read(self) -> None:
        http = FakeHttp(
            page(foreign("re_8"), foreign("re_9"), more=True),
            page(foreign("re_7"), more=True),
            page(refund()),
        )
        assert Stripe(http).find_refund(COMMAND) == Done("re_1")
        assert [dict(r.params).get("starting_after") for r in http.requests] == [None, "re_9", "re_7"]

    @pytest.mark.parametrize(
        ("_case", "second"),
        [
            ("broken", answer(500)),
            ("no list", answer(200, {})),
            ("a page that does not say whether it is the last", answer(200, {"object": "list", "data": []})),
            (
                "another one that does not, with refunds",
                answer(200, {"object": "list", "data": [foreign("re_7")]}),
            ),
            ("a page that goes on after nothing", page(more=True)),
            ("a refused question", error(400, "resource_missing")),
        ],
    )
    def test_a_list_that_is_not_whole_proves_nothing(self, _case: str, second: Response) -> None:
        said = Stripe(FakeHttp(page(foreign(), more=True), second)).find_refund(COMMAND)
        assert isinstance(said, Unknown)

    def test_a_list_without_end_is_given_up(self) -> None:
        http = FakeHttp(always=page(foreign(), more=True))
        assert isinstance(Stripe(http).find_refund(COMMAND), Unknown)
        assert len(http.requests) == 20

    @pytest.mark.parametrize(
        ("_case", "others", "captured", "found"),
        [
            ("room is left", [foreign(amount=1000)], 5250, NotFound),
            ("a cent too little is left", [foreign(amount=1001)], 5250, Permanent),
            ("nothing is left", [foreign(amount=4250)], 4250, Permanent),
            ("theirs failed", [foreign(amount=4250, status="failed")], 4250, NotFound),
            ("theirs is on its way", [foreign(amount=4250, status="pending")], 4250, Permanent),
        ],
    )
    def test_a_refund_by_others_that_leaves_no_room_for_ours_is_a_no(
        self, _case: str, others: list[Any], captured: int, found: type
    ) -> None:
        http = FakeHttp(page(*others), always=answer(200, intent(amount_received=captured)))
        said = Stripe(http).find_refund(COMMAND)
        assert type(said) is found
        if isinstance(said, Permanent):
            assert said.code == "refunded_elsewhere"

    @pytest.mark.parametrize("trouble", [answer(500), error(404, "resource_missing"), error(400, "x")])
    def test_a_payment_that_cannot_be_read_leaves_it_unknown(self, trouble: Response) -> None:
        said = Stripe(FakeHttp(page(foreign()), trouble)).find_refund(COMMAND)
        assert isinstance(said, Unknown)

    def test_a_charge_is_looked_up_as_a_charge(self) -> None:
        http = FakeHttp(page(foreign()), answer(200, charge(amount_captured=9000)))
        said = Stripe(http).find_refund(replace(COMMAND, payment_reference="ch_1"))
        assert said == NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference")
        assert http.calls == ["GET /v1/refunds", "GET /v1/charges/ch_1"]
        assert http.requests[0].params == [("charge", "ch_1"), ("limit", "100")]


class TestVoid:
    def test_the_request(self) -> None:
        http = FakeHttp(answer(500))
        Stripe(http).void_payment(VOID)
        assert (http.sent.method, http.sent.path) == ("POST", f"/v1/payment_intents/{PI}/cancel")
        assert http.sent.form == [("cancellation_reason", "requested_by_customer")]
        assert http.sent.headers == {"Idempotency-Key": VOID.key}

    @pytest.mark.parametrize(
        ("_case", "response", "outcome"),
        [
            ("released", answer(200, intent(status="canceled")), Done(PI)),
            (
                "released, of a larger authorisation",
                answer(200, intent(status="canceled", amount=9000)),
                Done(PI),
            ),
            (
                "another currency",
                answer(200, intent(status="canceled", currency="usd")),
                Permanent("amount_mismatch", "asked to release 42.50 EUR, Stripe cancelled 42.50 USD"),
            ),
            (
                "an amount that cannot be read",
                answer(200, intent(status="canceled", amount=None)),
                Unknown("the cancelled payment's amount cannot be read"),
            ),
            ("not released", answer(200, intent(**AUTHORISED)), Unknown("no clear answer, status 200")),
            (
                "another payment",
                answer(200, intent(id="pi_other", status="canceled")),
                Unknown("no clear answer, status 200"),
            ),
            (
                "a state that does not fit",
                error(400, "payment_intent_unexpected_state"),
                Unknown("payment_intent_unexpected_state: look who did it: told why (req_1)"),
            ),
            (
                "no such payment",
                error(404, "resource_missing"),
                Permanent("resource_missing", "told why (req_1)"),
            ),
            ("broken", answer(500), Unknown("no clear answer, status 500")),
        ],
    )
    def test_answers(self, _case: str, response: Response, outcome: Outcome) -> None:
        assert Stripe(FakeHttp(response)).void_payment(VOID) == outcome

    @pytest.mark.parametrize(
        ("_case", "response", "found"),
        [
            ("released", answer(200, intent(status="canceled")), Done(PI)),
            (
                "captured meanwhile",
                answer(200, intent()),
                Permanent("captured_meanwhile", "the payment was captured: refund it instead"),
            ),
            (
                "still held",
                answer(200, intent(**AUTHORISED)),
                NotFound(CONCLUSIVE_S, "the payment is not cancelled: requires_capture"),
            ),
            (
                "being processed",
                answer(200, intent(status="processing")),
                Unknown("the payment is 'processing': neither cancelled nor captured"),
            ),
            ("not visible for this key", error(404, "resource_missing"), Unknown),
            ("no clear answer", answer(200, {}), Unknown("no clear answer, status 200")),
        ],
    )
    def test_what_really_happened_is_read_from_the_payment(
        self, _case: str, response: Response, found: Found | type
    ) -> None:
        said = Stripe(FakeHttp(response)).find_void_payment(VOID)
        assert said == found or type(said) is found

    def test_a_charge_alone_cannot_be_released(self) -> None:
        http = FakeHttp()
        command = replace(VOID, payment_reference="ch_1")
        for said in (Stripe(http).void_payment(command), Stripe(http).find_void_payment(command)):
            assert isinstance(said, Permanent)
            assert said.code == "not_voidable"
        assert http.requests == []


class TestReadPayment:
    def read(self, *answers: Response, reference: str = PI) -> tuple[Any, list[str]]:
        http = FakeHttp(*answers)
        return Stripe(http).read_payment("", reference), http.calls

    def test_a_captured_payment_takes_three_calls(self) -> None:
        facts, calls = self.read(
            answer(200, intent(amount=5000, amount_received=4900)),
            page(
                refund(amount=1000),
                foreign(amount=500, status="pending"),
                foreign("re_3", 200, status="failed"),
            ),
            page(dispute("warning_needs_response")),
        )
        assert facts == PaymentFacts(
            platform="stripe",
            reference=PI,
            state=PaymentState.CAPTURED,
            authorised=Money(0, "EUR"),
            captured=Money(4900, "EUR"),
            refunds=(
                RefundFact("re_1", Money(1000, "EUR"), RefundStatus.SUCCEEDED, STEP),
                RefundFact("re_9", Money(500, "EUR"), RefundStatus.PENDING),
                RefundFact("re_3", Money(200, "EUR"), RefundStatus.FAILED),
            ),
            dispute=DisputeState.WARNING,
            dispute_reference="dp_1",
            order_number="1042",
        )
        assert calls == [f"GET /v1/payment_intents/{PI}", "GET /v1/refunds", "GET /v1/disputes"]

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("requires_capture", PaymentState.AUTHORISED),
            ("canceled", PaymentState.VOIDED),
            ("requires_payment_method", PaymentState.NOT_PAID),
            ("requires_confirmation", PaymentState.NOT_PAID),
            ("requires_action", PaymentState.NOT_PAID),
        ],
    )
    def test_a_payment_that_was_not_captured_takes_one_call(self, status: str, state: PaymentState) -> None:
        held = 4250 if state is PaymentState.AUTHORISED else 0
        facts, calls = self.read(
            answer(200, intent(status=status, amount_received=0, amount_capturable=held, latest_charge=None))
        )
        assert (facts.state, facts.authorised.minor, facts.captured.minor) == (state, held, 0)
        assert calls == [f"GET /v1/payment_intents/{PI}"]

    @pytest.mark.parametrize(
        ("_case", "changes", "state", "authorised", "captured"),
        [
            ("captured", {}, PaymentState.CAPTURED, 0, 4250),
            ("captured in part", {"amount_captured": 4000}, PaymentState.CAPTURED, 0, 4000),
            ("held", {"captured": False, "amount_captured": 0}, PaymentState.AUTHORISED, 4250, 0),
            (
                "released",
                {"captured": False, "amount_captured": 0, "refunded": True},
                PaymentState.VOIDED,
                0,
                0,
            ),
            (
                "refused",
                {"status": "failed", "captured": False, "amount_captured": 0},
                PaymentState.NOT_PAID,
                0,
                0,
            ),
        ],
    )
    def test_a_charge_tells_the_same_facts(
        self, _case: str, changes: dict[str, Any], state: PaymentState, authorised: int, captured: int
    ) -> None:
        lists = [page(), page()] if captured else []
        facts, calls = self.read(answer(200, charge(**changes)), *lists, reference="ch_1")
        assert (facts.state, facts.authorised.minor, facts.captured.minor) == (state, authorised, captured)
        assert facts.order_number == "1042"
        assert len(calls) == 1 + len(lists)

    @pytest.mark.parametrize(
        ("_case", "response"),
        [
            ("an intent", answer(200, intent(status="processing"))),
            ("a charge", answer(200, charge(status="pending"))),
        ],
    )
    def test_a_payment_that_is_being_processed_is_neither_paid_nor_unpaid(
        self, _case: str, response: Response
    ) -> None:
        said, _ = self.read(response, reference=str(response.json["id"]))
        assert isinstance(said, Retryable)
        assert (said.code, said.after_s) == ("unavailable", 900.0)

    @pytest.mark.parametrize(
        ("_case", "response", "family"),
        [
            ("a status that is new", answer(200, intent(status="parked")), Unknown),
            ("another payment", answer(200, intent(id="pi_other")), Unknown),
            ("an amount that is a text", answer(200, intent(amount_received="4250")), Unknown),
            ("a broken amount", answer(200, '{"object":"payment_intent","id":"pi_3Practice","amount_received":42.5}'), Unknown),
            ("a currency whose unit is not sure", answer(200, intent(currency="ugx")), Permanent),
            ("a charge where an intent was asked for", answer(200, charge(id=PI)), Unknown),
            ("not there", error(404, "resource_missing"), NotFound),
            ("a 404 from somewhere else", answer(404, "<html>"), Unknown),
            ("refused", error(400, "parameter_invalid_empty"), Permanent),
            ("broken", answer(500), Unknown),
        ],
    )  # fmt: skip
    def test_what_cannot_be_read_is_no_fact(self, _case: str, response: Response, family: type) -> None:
        said, calls = self.read(response)
        assert type(said) is family
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("_case", "refunds", "disputes"),
        [
            ("refunds refused", error(400, "x"), page()),
            ("a refund without an amount", page(refund(amount=None)), page()),
            ("a refund in another currency", page(refund(currency="usd")), page()),
            ("disputes broken", page(), answer(500)),
            ("a dispute without a status", page(), page({**dispute("won"), "status": None})),
            ("a dispute that is none", page(), page(7)),
        ],
    )
    def test_half_of_the_facts_are_none(self, _case: str, refunds: Response, disputes: Response) -> None:
        http = FakeHttp(answer(200, intent()), refunds, disputes)
        assert isinstance(Stripe(http).read_payment("", PI), Unknown | Permanent)

    @pytest.mark.parametrize(
        ("_case", "statuses", "state", "reference"),
        [
            ("none", [], DisputeState.NONE, ""),
            ("won", ["won"], DisputeState.WON, "dp_0"),
            (
                "a warning after one that was won",
                ["won", "warning_under_review"],
                DisputeState.WARNING,
                "dp_1",
            ),
            ("lost beats a warning", ["warning_closed", "lost"], DisputeState.LOST, "dp_1"),
            ("open beats lost", ["lost", "needs_response"], DisputeState.OPEN, "dp_1"),
            ("a word that is new counts as open", ["arbitration"], DisputeState.OPEN, "dp_0"),
        ],
    )
    def test_of_several_disputes_the_gravest_speaks(
        self, _case: str, statuses: list[str], state: DisputeState, reference: str
    ) -> None:
        listed = [dispute(status, f"dp_{i}") for i, status in enumerate(statuses)]
        facts, _ = self.read(answer(200, intent()), page(), page(*listed))
        assert (facts.dispute, facts.dispute_reference) == (state, reference)

    def test_a_charge_that_says_disputed_counts_as_open_where_the_list_does_not_show_it_yet(self) -> None:
        disputed = {"object": "charge", "id": "ch_1", "disputed": True, "metadata": {}}
        facts, _ = self.read(answer(200, intent(latest_charge=disputed)), page(), page())
        assert facts.dispute is DisputeState.OPEN
        facts, _ = self.read(answer(200, intent(latest_charge=disputed)), page(), page(dispute("won")))
        assert facts.dispute is DisputeState.WON

    def test_a_refund_in_a_state_that_is_new_counts_as_on_its_way(self) -> None:
        facts, _ = self.read(answer(200, intent()), page(foreign(status="held")), page())
        assert facts.refunds == (RefundFact("re_9", Money(1000, "EUR"), RefundStatus.PENDING),)

    @pytest.mark.parametrize(
        ("_case", "changes", "number"),
        [
            ("on the intent", {"metadata": {"shop_order": "7"}}, "7"),
            ("on its charge", {"metadata": {}, "latest_charge": {"metadata": {"shop_order": "8"}}}, "8"),
            ("nowhere", {"metadata": {}, "latest_charge": "ch_1"}, ""),
            ("not a text", {"metadata": {"shop_order": 7}}, ""),
            ("metadata that is none", {"metadata": None}, ""),
        ],
    )
    def test_the_order_is_read_where_the_shop_writes_it(
        self, _case: str, changes: dict[str, Any], number: str
    ) -> None:
        http = FakeHttp(answer(200, intent(**AUTHORISED, **changes)))
        facts = Stripe(http, "shop_order").read_payment("", PI)
        assert isinstance(facts, PaymentFacts)
        assert facts.order_number == number


class TestCheckAndBuild:
    @pytest.mark.parametrize(
        ("_case", "response", "is_ok"),
        [("accepted", page(), True), ("refused", error(401), False), ("away", answer(503), False)],
    )
    def test_one_cheap_read_tells_whether_the_key_works(
        self, _case: str, response: Response, is_ok: bool
    ) -> None:
        http = FakeHttp(response)
        health = Stripe(http).check()
        assert isinstance(health, Health)
        assert health.is_ok is is_ok
        assert http.sent.params == [("limit", "1")]

    def test_key_and_version_are_on_every_call(self) -> None:
        wire = FakeWire()
        credentials = Credentials(
            Secret("rk_test_1"), Secret("whsec_1"), "https://practice.example", "shop_order"
        )
        stripe = build(credentials, wire)
        assert stripe.order_metadata_key == "shop_order"
        (made,) = wire.made
        assert made["base_url"] == "https://practice.example"
        assert made["headers"] == {"Authorization": "Bearer rk_test_1", "Stripe-Version": "2026-10-28.endive"}
        assert SPEC.api_version == "2026-10-28.endive"


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())


def event(topic: str, value: Any, **changes: Any) -> bytes:
    told = {"object": "event", "id": "evt_1", "type": topic, "data": {"object": value}, **changes}
    return json.dumps(told).encode()


def signed(body: bytes, *signatures: str, at: int | str = AT) -> Delivery:
    header = ",".join([f"t={at}", *(f"v1={s}" for s in signatures)])
    return Delivery({"stripe-signature": header}, body)


def sign(secret: str, body: bytes, at: int = AT) -> str:
    return sign_hex(secret, f"{at}.".encode() + body)


class TestVerify:
    BODY = event("refund.updated", {})
    INBOUND = StripeInbound(Secret("whsec_new, whsec_old"))

    @pytest.mark.parametrize(
        ("_case", "delivery"),
        [
            ("the new secret", signed(BODY, sign("whsec_new", BODY))),
            ("the old secret, while it is rotated", signed(BODY, sign("whsec_old", BODY))),
            ("one of two signatures", signed(BODY, "0" * 64, sign("whsec_new", BODY))),
            ("at the edge of time", signed(BODY, sign("whsec_new", BODY, AT - 300), at=AT - 300)),
        ],
    )
    def test_a_signature_that_one_of_our_secrets_makes_will_do(self, _case: str, delivery: Delivery) -> None:
        assert self.INBOUND.verify(delivery, NOW) == Verified("evt_1", "refund.updated")

    @pytest.mark.parametrize(
        ("_case", "delivery", "reason"),
        [
            ("no header", Delivery({}, BODY), "missing"),
            ("another secret", signed(BODY, sign("whsec_other", BODY)), "does not match"),
            ("another body", signed(BODY + b" ", sign("whsec_new", BODY)), "does not match"),
            ("another time", signed(BODY, sign("whsec_new", BODY), at=AT - 1), "does not match"),
            ("in capitals", signed(BODY, sign("whsec_new", BODY).upper()), "does not match"),
            ("too old", signed(BODY, sign("whsec_new", BODY, AT - 301), at=AT - 301), "last 300 seconds"),
            ("from the future", signed(BODY, sign("whsec_new", BODY, AT + 301), at=AT + 301), "last 300 seconds"),
            ("no signature", signed(BODY), "missing"),
            ("only an old scheme", Delivery({"stripe-signature": f"t={AT},v0={sign('whsec_new', BODY)}"}, BODY), "missing"),
            ("two times", Delivery({"stripe-signature": f"t={AT},t={AT},v1={sign('whsec_new', BODY)}"}, BODY), "missing"),
            ("a time that is none", signed(BODY, sign("whsec_new", BODY), at="now"), "missing"),
            ("a time in other digits", signed(BODY, sign("whsec_new", BODY), at="١٢٣"), "missing"),
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, _case: str, delivery: Delivery, reason: str) -> None:
        said = self.INBOUND.verify(delivery, NOW)
        assert isinstance(said, Refused)
        assert reason in said.reason
        assert "whsec" not in said.reason

    @pytest.mark.parametrize("secret", ["", " , "])
    def test_without_a_secret_nothing_is_believed(self, secret: str) -> None:
        delivery = signed(self.BODY, "0" * 64)
        assert StripeInbound(Secret(secret)).verify(delivery, NOW) == Refused("no webhook secret is set")

    @pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"object":"event","id":"evt_1"}', b'{"object":"event","id":"","type":"x"}'])  # fmt: skip
    def test_a_signed_body_that_is_no_event_is_refused(self, body: bytes) -> None:
        assert self.INBOUND.verify(signed(body, sign("whsec_new", body)), NOW) == Refused(
            "the body is no event"
        )

    def test_freshness_follows_the_time_that_is_passed_in(self) -> None:
        delivery = signed(self.BODY, sign("whsec_new", self.BODY))
        assert isinstance(self.INBOUND.verify(delivery, NOW + timedelta(seconds=301)), Refused)


class TestReadEvent:
    INBOUND = StripeInbound(Secret("whsec_1"))

    @pytest.mark.parametrize(
        ("_case", "topic", "value", "reading"),
        [
            (
                "ours arrived",
                "refund.updated",
                refund(),
                RefundSeen("stripe", PI, "re_1", RefundStatus.SUCCEEDED, EUR, STEP, OrderRef("", "", "1042")),
            ),
            (
                "ours failed days later",
                "refund.failed",
                refund(status="failed", failure_reason="lost_or_stolen_card"),
                RefundSeen(
                    "stripe", PI, "re_1", RefundStatus.FAILED, EUR, STEP, OrderRef("", "", "1042"), "lost_or_stolen_card"
                ),
            ),
            (
                "made in the dashboard",
                "refund.created",
                foreign(amount=4250, status="pending", pending_reason="processing"),
                RefundSeen("stripe", PI, "re_9", RefundStatus.PENDING, EUR, why="processing"),
            ),
            (
                "the older name of it, on a charge alone",
                "charge.refund.updated",
                foreign(amount=4250, payment_intent=None),
                RefundSeen("stripe", "ch_1", "re_9", RefundStatus.SUCCEEDED, EUR),
            ),
            (
                "a state that is new: ask",
                "refund.updated",
                refund(status="held"),
                PaymentRefundsChanged("stripe", PI, OrderRef("", "", "1042")),
            ),
            (
                "an amount that cannot be read: ask",
                "refund.updated",
                foreign(currency="ugx"),
                PaymentRefundsChanged("stripe", PI),
            ),
            (
                "a charge was refunded",
                "charge.refunded",
                charge(payment_intent=PI),
                PaymentRefundsChanged("stripe", PI, OrderRef("", "", "1042")),
            ),
            (
                "a charge without an intent",
                "charge.refunded",
                charge(metadata={}),
                PaymentRefundsChanged("stripe", "ch_1"),
            ),
            (
                "a chargeback",
                "charge.dispute.created",
                dispute("needs_response"),
                DisputeSeen("stripe", PI, "dp_1", DisputeState.OPEN, EUR, "product_not_received"),
            ),
            (
                "an inquiry, with the intent expanded",
                "charge.dispute.created",
                dispute("warning_needs_response", payment_intent={"id": PI}),
                DisputeSeen("stripe", PI, "dp_1", DisputeState.WARNING, EUR, "product_not_received"),
            ),
            (
                "won",
                "charge.dispute.closed",
                dispute("won", amount=None, reason=None),
                DisputeSeen("stripe", PI, "dp_1", DisputeState.WON),
            ),
            (
                "a warning of fraud",
                "radar.early_fraud_warning.created",
                {"object": "radar.early_fraud_warning", "id": "issfr_1", "charge": "ch_1", "fraud_type": "made_with_lost_card"},
                DisputeSeen("stripe", "ch_1", "issfr_1", DisputeState.WARNING, None, "made_with_lost_card"),
            ),
            ("paid", "payment_intent.succeeded", intent(), Irrelevant("payment_intent.succeeded asks nothing of us")),
            ("somebody", "customer.created", {"id": "cus_1"}, Irrelevant("customer.created asks nothing of us")),
        ],
    )  # fmt: skip
    def test_what_an_event_says(self, _case: str, topic: str, value: Any, reading: Reading) -> None:
        assert self.INBOUND.read_event(topic, event(topic, value)) == reading

    @pytest.mark.parametrize(
        ("_case", "topic", "body", "field"),
        [
            ("no JSON", "refund.updated", b"<html>", "data.object"),
            ("no object", "refund.updated", b'{"data": {}}', "data.object"),
            ("a refund of nothing", "refund.updated", event("", refund(payment_intent=None, charge=None)), "data.object.payment_intent"),
            ("a dispute about nothing", "charge.dispute.created", event("", dispute("won", payment_intent="", charge={})), "data.object.payment_intent"),
            ("a dispute without a status", "charge.dispute.created", event("", dispute("")), "data.object.status"),
            ("a dispute without an id", "charge.dispute.created", event("", dispute("won", id=7)), "data.object.id"),
            ("a warning without a type", "radar.early_fraud_warning.created", event("", {"id": "issfr_1", "charge": "ch_1"}), "data.object.fraud_type"),
        ],
    )  # fmt: skip
    def test_an_event_that_lacks_what_it_must_have_names_the_field(
        self, _case: str, topic: str, body: bytes, field: str
    ) -> None:
        with pytest.raises(MalformedError) as malformed:
            self.INBOUND.read_event(topic, body)
        assert malformed.value.field == field

    def test_the_order_is_read_where_the_shop_writes_it(self) -> None:
        inbound = StripeInbound(Secret("whsec_1"), "shop_order")
        reading = inbound.read_event(
            "charge.refunded", event("", charge(metadata={"shop_order": "7", "order": "8"}))
        )
        assert reading == PaymentRefundsChanged("stripe", "ch_1", OrderRef("", "", "7"))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("warning_needs_response", DisputeState.WARNING),
        ("warning_under_review", DisputeState.WARNING),
        ("warning_closed", DisputeState.WARNING),
        ("needs_response", DisputeState.OPEN),
        ("under_review", DisputeState.OPEN),
        ("appeal_needs_response", DisputeState.OPEN),
        ("appeal_under_review", DisputeState.OPEN),
        ("won", DisputeState.WON),
        ("lost", DisputeState.LOST),
        ("prevented", DisputeState.LOST),
    ],
)
def test_every_published_state_of_a_dispute_has_its_meaning(status: str, state: DisputeState) -> None:
    assert dispute_state(status) is state
