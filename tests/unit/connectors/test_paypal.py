"""PayPal's connector: what it sends, what it makes of every answer, and whose events it believes."""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from refundflow.connectors.paypal import (
    CONCLUSIVE_S,
    KEY_TRUSTED,
    REFUSALS,
    ApiCheck,
    CertificateCheck,
    Certificates,
    Credentials,
    Means,
    PayPal,
    PayPalInbound,
    Transmission,
    address_refusal,
    build,
    build_inbound,
    dispute_state,
    public_roots,
    read_event_text,
    read_money,
    request_id,
    signed_message,
    to_value,
)
from refundflow.domain.commands import Refund, VoidPayment
from refundflow.domain.facts import DisputeState, PaymentFacts, PaymentState, RefundFact, RefundStatus
from refundflow.domain.ids import StepKey, opened_at, wire_key
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
    AlreadyDone,
    Done,
    Found,
    NotFound,
    Outcome,
    Permanent,
    Retryable,
)
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Request, Response
from tests.support.fake_http import FakeHttp, FakeWire, answer

CASE = "RF-00K3ZQ4M7ABCDEF"
STEP = StepKey(f"{CASE}.refund.1")
KEY = wire_key(STEP, 1)
CAPTURE, AUTHORISATION, ORDER = "3C679366HH908993F", "0VF52814937998046", "5O190127TN364715T"
DISPUTE = "PP-D-12345"
AMOUNT = Money(4250, "EUR")
OPENED = datetime.fromtimestamp(opened_at(STEP), UTC)
COMMAND = Refund(
    step_key=STEP,
    key=KEY,
    order_id="6001",
    order_number="#1042",
    payment_reference=CAPTURE,
    gateway="paypal",
    amount=AMOUNT,
)
VOID = VoidPayment(
    step_key=StepKey(f"{CASE}.refund.2"),
    key=wire_key(StepKey(f"{CASE}.refund.2"), 1),
    order_id="6001",
    payment_reference=AUTHORISATION,
    amount=AMOUNT,
)
CREDENTIALS = Credentials(
    client_id="client", client_secret=Secret("paypal-practice-secret"), webhook_id="4JH86294D6297924G"
)


def money(value: str = "42.50", currency: str = "EUR") -> dict[str, str]:
    return {"currency_code": currency, "value": value}


def link(rel: str, path: str) -> dict[str, str]:
    return {"rel": rel, "href": f"https://api-m.paypal.com{path}", "method": "GET"}


def capture(status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    return {
        "id": CAPTURE,
        "status": status,
        "amount": money("90.00"),
        "invoice_id": "1042",
        "create_time": "2026-11-20T09:00:00Z",
        "supplementary_data": {"related_ids": {"order_id": ORDER}},
        "links": [link("up", f"/v2/checkout/orders/{ORDER}")],
        **more,
    }


def refund(status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    return {
        "id": "1JU08902781691411",
        "status": status,
        "amount": money(),
        "custom_id": STEP,
        "invoice_id": f"{STEP}-1",
        "links": [link("up", f"/v2/payments/captures/{CAPTURE}")],
        **more,
    }


def authorisation(status: str = "CREATED", **more: Any) -> dict[str, Any]:
    return {
        "id": AUTHORISATION,
        "status": status,
        "amount": money(),
        "supplementary_data": {"related_ids": {"order_id": ORDER}},
        **more,
    }


def order(**payments: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": ORDER, "status": "COMPLETED", "purchase_units": [{"payments": payments}]}


def failure(issue: str, status: int = 422, **more: Any) -> Response:
    names = {400: "INVALID_REQUEST", 404: "RESOURCE_NOT_FOUND", 409: "RESOURCE_CONFLICT"}
    body = {
        "name": names.get(status, "UNPROCESSABLE_ENTITY"),
        "message": "no",
        "debug_id": "90957fca61718",
        "details": [{"issue": issue, "description": "It was refused."}],
    }
    return answer(status, body | more)


NO_SUCH = failure("INVALID_RESOURCE_ID", 404)
NO_DISPUTES = answer(200, {"links": [link("self", "/v1/customer/disputes")]})


def disputes(*items: dict[str, Any], after: str = "") -> Response:
    links = [link("next", f"/v1/customer/disputes?next_page_token={after}")] if after else []
    return answer(200, {"items": list(items), "links": links})


def dispute(status: str = "OPEN", stage: str = "INQUIRY", **more: Any) -> dict[str, Any]:
    return {
        "dispute_id": DISPUTE,
        "status": status,
        "dispute_life_cycle_stage": stage,
        "dispute_channel": "INTERNAL",
        "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        "dispute_amount": money("90.00"),
        **more,
    }


def family(said: object) -> str:
    """The kind of an outcome, with its code where it has one."""
    code = getattr(said, "code", "")
    return f"{type(said).__name__}{f' {code}' if code else ''}"


# ---------------------------------------------------------------- refund


class TestWhatIsSent:
    def test_a_refund_always_says_the_amount_our_reference_and_a_key_of_its_own(self) -> None:
        http = FakeHttp(answer(201, refund()))
        PayPal(http).refund(COMMAND)
        assert http.calls == [f"POST /v2/payments/captures/{CAPTURE}/refund"]
        assert http.sent.json == {
            "amount": {"currency_code": "EUR", "value": "42.50"},
            "custom_id": STEP,
            "invoice_id": f"{STEP}-1",
            "note_to_payer": "Refund for order #1042",
        }
        assert http.sent.headers == {
            "PayPal-Request-Id": request_id(KEY),
            "Prefer": "return=representation",
        }

    def test_the_key_is_a_uuid_that_never_changes(self) -> None:
        # A literal on purpose: should this ever differ, repeats under way would be second refunds.
        assert (
            request_id("refundflow:RF-00K3ZQ4M7ABCDEF.refund.1:1") == "a32d3583-66b2-58f3-9b94-03d6b1e654be"
        )
        assert uuid.UUID(request_id(KEY)).version == 5
        assert request_id(wire_key(STEP, 2)) != request_id(KEY)

    def test_a_fresh_key_makes_a_fresh_invoice_id_and_keeps_our_reference(self) -> None:
        http = FakeHttp(answer(500))
        PayPal(http).refund(replace(COMMAND, key=wire_key(STEP, 2)))
        assert (http.sent.json["invoice_id"], http.sent.json["custom_id"]) == (f"{STEP}-2", STEP)

    def test_the_same_command_is_the_same_request(self) -> None:
        http = FakeHttp(always=answer(500))
        PayPal(http).refund(COMMAND)
        PayPal(http).refund(COMMAND)
        assert http.requests[0] == http.requests[1]

    def test_a_note_to_the_customer_is_short_and_only_where_there_is_a_number(self) -> None:
        http = FakeHttp(always=answer(500))
        PayPal(http).refund(replace(COMMAND, order_number=""))
        PayPal(http).refund(replace(COMMAND, order_number="9" * 400))
        assert "note_to_payer" not in http.requests[0].json
        assert len(http.requests[1].json["note_to_payer"]) == 255

    @pytest.mark.parametrize(
        ("amount", "value"),
        [
            (Money(4250, "EUR"), "42.50"),
            (Money(5, "USD"), "0.05"),
            (Money(1200, "JPY"), "1200"),
            (Money(120_000, "HUF"), "1200"),
            (Money(50_000, "TWD"), "500"),
            (Money(120_050, "HUF"), None),
        ],
    )
    def test_amounts_have_paypals_decimals(self, amount: Money, value: str | None) -> None:
        assert to_value(amount) == value
        if value is not None:
            assert read_money(money(value, amount.currency)) == amount

    @pytest.mark.parametrize(
        "value",
        [
            None,
            {},
            {"currency_code": "EUR"},
            {"currency_code": "EUR", "value": 42.5},
            {"currency_code": "EUR", "value": "-1.00"},
            {"currency_code": "EUR", "value": "1.001"},
            {"currency_code": "EUR", "value": "NaN"},
            {"currency_code": "EUR", "value": "1e3"},
            {"currency_code": "eur", "value": "1.00"},
            {"currency_code": "EURO", "value": "1.00"},
        ],
    )
    def test_what_is_no_amount_is_none(self, value: Any) -> None:
        assert read_money(value) is None

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"amount": Money(120_050, "HUF")}, "amount_unsupported"),
            ({"amount": Money(0, "EUR")}, "amount_unsupported"),
            ({"amount": Money(-5, "EUR")}, "amount_unsupported"),
            ({"payment_reference": "../../x"}, "unknown_reference"),
            ({"payment_reference": f"{CAPTURE}/refund"}, "unknown_reference"),
            ({"payment_reference": f"{CAPTURE}?x=1"}, "unknown_reference"),
            ({"payment_reference": f"{CAPTURE}\n"}, "unknown_reference"),
            ({"payment_reference": "order:"}, "unknown_reference"),
            ({"payment_reference": "order:../x"}, "unknown_reference"),
            ({"payment_reference": "order:order:X"}, "unknown_reference"),
            ({"payment_reference": ""}, "unknown_reference"),
            ({"payment_reference": "pi_3abc"}, "unknown_reference"),
            ({"step_key": StepKey("RF 1:refund/1")}, "reference_unsupported"),
        ],
    )
    def test_what_cannot_be_said_is_refused_and_nothing_is_sent(self, changes: Any, code: str) -> None:
        http = FakeHttp()
        assert family(PayPal(http).refund(replace(COMMAND, **changes))) == f"Permanent {code}"
        assert http.requests == []


REFUND_ANSWERS: list[tuple[str, Response, str]] = [
    ("paid", answer(201, refund()), "Done"),
    ("paid, a repetition", answer(200, refund()), "Done"),
    ("on its way", answer(201, refund("PENDING", status_details={"reason": "ECHECK"})), "Pending"),
    ("failed since", answer(200, refund("FAILED")), "Permanent refund_failed"),
    ("cancelled since", answer(200, refund("CANCELLED")), "Permanent refund_failed"),
    ("a status that is new", answer(201, refund("PARTIED")), "Unknown"),
    ("another amount", answer(201, refund(amount=money("90.00"))), "Permanent amount_mismatch"),
    ("another currency", answer(201, refund(amount=money("42.50", "USD"))), "Permanent amount_mismatch"),
    ("an amount that is none", answer(201, refund(amount={"value": "x"})), "Unknown"),
    ("somebody else's reference", answer(201, refund(custom_id="shop-7")), "Unknown"),
    ("a yes of another kind", answer(202, refund()), "Unknown"),
    ("no content", answer(204), "Unknown"),
    ("all of it is gone", failure("CAPTURE_FULLY_REFUNDED"), "Unknown"),
    ("the invoice id is used", failure("DUPLICATE_INVOICE_ID"), "Unknown"),
    ("another body before", failure("PAYPAL_REQUEST_ID_PREVIOUSLY_USED"), "Unknown"),
    ("still at work", failure("PREVIOUS_REQUEST_IN_PROGRESS", 409), "Unknown"),
    ("a conflict", answer(409, {"name": "RESOURCE_CONFLICT"}), "Unknown"),
    ("not arrived yet", failure("PENDING_CAPTURE"), "Retryable unavailable"),
    ("no balance", failure("REFUND_FAILED_INSUFFICIENT_FUNDS"), "Retryable unavailable"),
    ("a case is open", failure("TRANSACTION_DISPUTED"), "Permanent TRANSACTION_DISPUTED"),
    (
        "the bank takes it",
        failure("REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK"),
        "Permanent REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK",
    ),
    *(
        (issue.lower(), failure(issue), f"Permanent {issue}")
        for issue in (
            "REFUND_AMOUNT_EXCEEDED",
            "REFUND_CAPTURE_CURRENCY_MISMATCH",
            "CURRENCY_MISMATCH",
            "DECIMAL_PRECISION",
            "DECIMALS_NOT_SUPPORTED",
            "CANNOT_BE_ZERO_OR_NEGATIVE",
            "REFUND_NOT_ALLOWED",
            "REFUND_TIME_LIMIT_EXCEEDED",
            "PARTIAL_REFUND_NOT_ALLOWED",
            "MAX_NUMBER_OF_REFUNDS_EXCEEDED",
            "REFUND_AMOUNT_TOO_LOW",
            "REFUND_IS_RESTRICTED",
            "PAYEE_ACCOUNT_LOCKED_OR_CLOSED",
            "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
        )
    ),
    (
        "a malformed request",
        failure("INVALID_PARAMETER_SYNTAX", 400),
        "Permanent INVALID_PARAMETER_SYNTAX",
    ),
    (
        "a no without details",
        answer(415, {"name": "UNSUPPORTED_MEDIA_TYPE"}),
        "Permanent UNSUPPORTED_MEDIA_TYPE",
    ),
    ("the account is closed", failure("INVALID_ACCOUNT_STATUS", 401), "Permanent INVALID_ACCOUNT_STATUS"),
    ("no such token", answer(401, {"error": "invalid_token"}), "Retryable unauthorised"),
    ("not allowed", failure("PERMISSION_DENIED", 403), "Retryable unauthorised"),
    ("too often", answer(429, {"name": "RATE_LIMIT_REACHED"}), "Retryable throttled"),
    ("broken", failure("INTERNAL_SERVER_ERROR", 500), "Unknown"),
    ("away", answer(503, {"name": "SERVICE_UNAVAILABLE"}), "Unknown"),
    ("a gateway in between", answer(504, "<html></html>"), "Unknown"),
    ("a 404 of somebody else", answer(404, "<html>not found</html>"), "Unknown"),
    ("a time-out", answer(408, {"name": "REQUEST_TIMEOUT"}), "Unknown"),
]


class TestWhatARefundComesTo:
    @pytest.mark.parametrize(("_case", "response", "expected"), REFUND_ANSWERS)
    def test_answers(self, _case: str, response: Response, expected: str) -> None:
        assert family(PayPal(FakeHttp(response)).refund(COMMAND)) == expected

    def test_done_names_the_refund_and_keeps_what_is_worth_it(self) -> None:
        told = refund(
            acquirer_reference_number="74537604221222132710572",
            seller_payable_breakdown={"paypal_fee": money("1.27")},
        )
        assert PayPal(FakeHttp(answer(201, told))).refund(COMMAND) == Done(
            "1JU08902781691411", "fee returned: 1.27 EUR; card reference 74537604221222132710572"
        )

    def test_the_short_answer_is_read_whole_before_it_is_believed(self) -> None:
        short = {"id": "1JU08902781691411", "status": "COMPLETED", "links": []}
        http = FakeHttp(answer(201, short), answer(200, refund(amount=money("90.00"))))
        assert family(PayPal(http).refund(COMMAND)) == "Permanent amount_mismatch"
        assert http.calls[1] == "GET /v2/payments/refunds/1JU08902781691411"

    @pytest.mark.parametrize("second", [answer(500), answer(401, {}), answer(429), NO_SUCH])
    def test_a_short_answer_that_cannot_be_read_whole_is_never_nothing_happened(
        self, second: Response
    ) -> None:
        short = {"id": "1JU08902781691411", "status": "COMPLETED"}
        http = FakeHttp(answer(201, short), second)
        assert family(PayPal(http).refund(COMMAND)) == "Unknown"

    def test_waits_are_long_where_banks_and_people_are_slow(self) -> None:
        hints = {}
        for issue in ("PENDING_CAPTURE", "REFUND_FAILED_INSUFFICIENT_FUNDS"):
            said = PayPal(FakeHttp(failure(issue))).refund(COMMAND)
            assert isinstance(said, Retryable)
            hints[issue] = said.after_s
        assert hints == {"PENDING_CAPTURE": 43_200, "REFUND_FAILED_INSUFFICIENT_FUNDS": 21_600}

    def test_too_often_without_a_hint_waits_some_seconds(self) -> None:
        assert PayPal(FakeHttp(answer(429))).refund(COMMAND) == Retryable(
            "throttled", "PayPal is asked too often", 5.0
        )

    def test_a_refusal_tells_people_paypals_words_and_its_id_of_the_call(self) -> None:
        said = PayPal(FakeHttp(failure("REFUND_NOT_ALLOWED"))).refund(COMMAND)
        assert said == Permanent("REFUND_NOT_ALLOWED", "REFUND_NOT_ALLOWED: It was refused. (90957fca61718)")

    @pytest.mark.parametrize(
        ("issues", "expected"),
        [
            (["REFUND_NOT_ALLOWED", "CAPTURE_FULLY_REFUNDED"], "Unknown"),
            (["PENDING_CAPTURE", "DUPLICATE_INVOICE_ID"], "Unknown"),
            (["REFUND_NOT_ALLOWED", "TRANSACTION_DISPUTED"], "Permanent TRANSACTION_DISPUTED"),
        ],
    )
    def test_of_several_issues_the_most_careful_speaks(self, issues: list[str], expected: str) -> None:
        response = failure("x", details=[{"issue": issue} for issue in issues])
        assert family(PayPal(FakeHttp(response)).refund(COMMAND)) == expected

    @pytest.mark.parametrize("error", [NotSentError("refused"), MaybeSentError("reset")])
    def test_trouble_on_the_wire_is_left_to_the_caller(self, error: Exception) -> None:
        with pytest.raises(type(error)):
            PayPal(FakeHttp(error)).refund(COMMAND)  # type: ignore[arg-type] # one of the two errors

    def test_no_means_is_without_use(self) -> None:
        assert set(REFUSALS.values()) == set(Means)


class TestReferences:
    """A capture is what is refunded; shops may know it by its authorisation or its order."""

    def test_an_orders_only_capture_is_refunded(self) -> None:
        http = FakeHttp(answer(200, order(captures=[capture()])), answer(201, refund()))
        assert family(PayPal(http).refund(replace(COMMAND, payment_reference=f"order:{ORDER}"))) == "Done"
        assert http.calls == [
            f"GET /v2/checkout/orders/{ORDER}",
            f"POST /v2/payments/captures/{CAPTURE}/refund",
        ]

    def test_an_authorisations_only_capture_is_refunded(self) -> None:
        up = [link("up", f"/v2/payments/authorizations/{AUTHORISATION}")]
        http = FakeHttp(
            NO_SUCH,
            NO_SUCH,
            answer(200, authorisation("CAPTURED")),
            answer(200, order(captures=[capture(links=up)], authorizations=[authorisation("CAPTURED")])),
            answer(201, refund()),
        )
        assert family(PayPal(http).refund(replace(COMMAND, payment_reference=AUTHORISATION))) == "Done"
        assert http.calls[-1] == f"POST /v2/payments/captures/{CAPTURE}/refund"

    @pytest.mark.parametrize(
        ("_case", "reference", "answers", "expected"),
        [
            ("nothing by that id", CAPTURE, [NO_SUCH, NO_SUCH, NO_SUCH], "Permanent unknown_reference"),
            (
                "a capture that only the refund does not know",
                CAPTURE,
                [NO_SUCH, answer(200, capture())],
                "Permanent INVALID_RESOURCE_ID",
            ),
            (
                "only authorised",
                AUTHORISATION,
                [NO_SUCH, NO_SUCH, answer(200, authorisation())],
                "Permanent not_captured",
            ),
            ("no answer in between", CAPTURE, [NO_SUCH, answer(500)], "Retryable unavailable"),
            ("an order that is gone", f"order:{ORDER}", [NO_SUCH], "Permanent unknown_reference"),
            ("an order that does not answer", f"order:{ORDER}", [answer(502)], "Retryable unavailable"),
            (
                "an order without payment",
                f"order:{ORDER}",
                [answer(200, order())],
                "Permanent unknown_reference",
            ),
            (
                "an order with two captures",
                f"order:{ORDER}",
                [answer(200, order(captures=[capture(), capture(id="OTHER")]))],
                "Permanent ambiguous",
            ),
            (
                "an order with a capture and an authorisation",
                f"order:{ORDER}",
                [answer(200, order(captures=[capture()], authorizations=[authorisation()]))],
                "Permanent ambiguous",
            ),
        ],
    )
    def test_without_a_capture_nothing_is_refunded(
        self, _case: str, reference: str, answers: list[Response], expected: str
    ) -> None:
        http = FakeHttp(*answers)
        said = PayPal(http).refund(replace(COMMAND, payment_reference=reference))
        assert family(said) == expected
        assert http.is_drained
        assert [c for c in http.calls if c.startswith("POST")] == (
            [] if reference.startswith("order:") else [f"POST /v2/payments/captures/{reference}/refund"]
        )

    def test_payments_that_came_to_nothing_do_not_make_an_order_ambiguous(self) -> None:
        tried = [capture("DECLINED", id="TRIED1"), capture("FAILED", id="TRIED2"), capture()]
        http = FakeHttp(
            answer(200, order(captures=tried, authorizations=[authorisation("VOIDED")])),
            NO_DISPUTES,
        )
        facts = PayPal(http).read_payment("", f"order:{ORDER}")
        assert isinstance(facts, PaymentFacts)
        assert (facts.reference, facts.state) == (CAPTURE, PaymentState.CAPTURED)


# ---------------------------------------------------------------- find


def at(moment: datetime, *answers: Response) -> tuple[PayPal, FakeHttp]:
    http = FakeHttp(*answers)
    return PayPal(http, now=lambda: moment), http


SOON = OPENED + timedelta(hours=1)
LATE = OPENED + timedelta(days=60)


def others(value: str, **more: Any) -> dict[str, Any]:
    return refund(id="OTHERS", custom_id="shop-7", invoice_id="R-7", amount=money(value), **more)


class TestFindRefund:
    def test_ours_is_found_by_our_reference_and_read_as_it_is_now(self) -> None:
        listed = order(captures=[capture()], refunds=[others("10.00"), refund("PENDING")])
        connector, http = at(
            SOON, answer(200, capture("PARTIALLY_REFUNDED")), answer(200, listed), answer(200, refund())
        )
        assert connector.find_refund(COMMAND) == Done("1JU08902781691411")
        assert http.calls == [
            f"GET /v2/payments/captures/{CAPTURE}",
            f"GET /v2/checkout/orders/{ORDER}",
            "GET /v2/payments/refunds/1JU08902781691411",
        ]

    @pytest.mark.parametrize(
        ("_case", "now", "expected"),
        [
            ("on its way", refund("PENDING"), "Pending"),
            ("failed later", refund("FAILED"), "Permanent refund_failed"),
            ("another amount", refund(amount=money("1.00")), "Permanent amount_mismatch"),
            ("unreadable", {"id": "1JU08902781691411"}, "Unknown"),
            ("another refund", refund(id="OTHER"), "Unknown"),
        ],
    )
    def test_ours_as_it_stands(self, _case: str, now: Any, expected: str) -> None:
        listed = order(captures=[capture()], refunds=[refund()])
        connector, _ = at(
            SOON, answer(200, capture("PARTIALLY_REFUNDED")), answer(200, listed), answer(200, now)
        )
        assert family(connector.find_refund(COMMAND)) == expected

    @pytest.mark.parametrize("trouble", [answer(500), answer(401, {}), answer(429), NO_SUCH])
    def test_ours_is_there_and_cannot_be_read_again(self, trouble: Response) -> None:
        listed = order(captures=[capture()], refunds=[refund()])
        connector, _ = at(SOON, answer(200, capture()), answer(200, listed), trouble)
        assert family(connector.find_refund(COMMAND)) == "Unknown"

    @pytest.mark.parametrize(
        ("_case", "status", "refunds", "expected"),
        [
            ("nothing was refunded", "COMPLETED", [], NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference")),
            ("others took a part", "PARTIALLY_REFUNDED", [others("10.00")], NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference")),
            ("others failed", "COMPLETED", [others("90.00", status="FAILED")], NotFound(CONCLUSIVE_S, "none of the payment's refunds carries our reference")),
        ],
    )  # fmt: skip
    def test_an_absence_that_the_whole_list_shows_is_a_proof(
        self, _case: str, status: str, refunds: Any, expected: Found
    ) -> None:
        listed = order(captures=[capture()], refunds=refunds)
        connector, _ = at(SOON, answer(200, capture(status)), answer(200, listed))
        assert connector.find_refund(COMMAND) == expected

    @pytest.mark.parametrize(
        ("_case", "status", "refunds", "expected"),
        [
            ("others took all", "REFUNDED", [others("90.00")], "Permanent refunded_elsewhere"),
            ("others took too much", "PARTIALLY_REFUNDED", [others("50.00")], "Permanent refunded_elsewhere"),
            ("all is gone and not shown by what", "REFUNDED", [], "Unknown"),
            ("the list lags behind", "REFUNDED", [others("10.00")], "Unknown"),
            ("some is gone and not shown by what", "PARTIALLY_REFUNDED", [], "Unknown"),
            ("one that cannot be read", "COMPLETED", [refund(amount={})], "Unknown"),
            ("one that is no refund", "COMPLETED", [None], "Unknown"),
        ],
    )
    def test_an_absence_with_money_gone(self, _case: str, status: str, refunds: Any, expected: str) -> None:
        listed = order(captures=[capture()], refunds=refunds)
        connector, _ = at(SOON, answer(200, capture(status)), answer(200, listed))
        assert family(connector.find_refund(COMMAND)) == expected

    def test_refunds_of_another_capture_of_the_order_are_not_ours(self) -> None:
        other_up = [link("up", "/v2/payments/captures/OTHER")]
        listed = order(
            captures=[capture(), capture(id="OTHER")],
            refunds=[refund(links=other_up), others("90.00", links=other_up)],
        )
        connector, _ = at(SOON, answer(200, capture()), answer(200, listed))
        assert family(connector.find_refund(COMMAND)) == "NotFound"

    def test_a_refund_that_does_not_say_of_which_capture_leaves_it_open(self) -> None:
        listed = order(captures=[capture(), capture(id="OTHER")], refunds=[others("1.00", links=[])])
        connector, _ = at(SOON, answer(200, capture()), answer(200, listed))
        assert family(connector.find_refund(COMMAND)) == "Unknown"

    def test_a_failed_refund_of_an_earlier_key_does_not_speak_for_this_one(self) -> None:
        listed = order(captures=[capture()], refunds=[refund("FAILED")])
        connector, _ = at(SOON, answer(200, capture()), answer(200, listed))
        assert family(connector.find_refund(replace(COMMAND, key=wire_key(STEP, 2)))) == "NotFound"

    def test_a_failed_refund_without_a_number_speaks(self) -> None:
        failed = refund("FAILED", invoice_id="")
        listed = order(captures=[capture()], refunds=[failed])
        connector, _ = at(SOON, answer(200, capture()), answer(200, listed), answer(200, failed))
        assert family(connector.find_refund(COMMAND)) == "Permanent refund_failed"

    def test_of_two_that_live_a_person_hears(self) -> None:
        listed = order(captures=[capture()], refunds=[refund("FAILED", id="F"), refund(), refund(id="TWICE")])
        connector, _ = at(SOON, answer(200, capture()), answer(200, listed), answer(200, refund()))
        assert connector.find_refund(COMMAND) == Done("1JU08902781691411", "also refunded by TWICE")

    @pytest.mark.parametrize("status", ["COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"])
    def test_without_the_order_the_key_speaks_while_it_is_honoured(self, status: str) -> None:
        connector, _ = at(SOON, answer(200, capture(status)), NO_SUCH)
        found = connector.find_refund(COMMAND)
        assert isinstance(found, NotFound)
        assert found.conclusive_after_s == CONCLUSIVE_S
        assert found.conclusive_until_s == KEY_TRUSTED.total_seconds() < 45 * 86_400

    @pytest.mark.parametrize(
        ("status", "expected"),
        [("COMPLETED", "NotFound"), ("PARTIALLY_REFUNDED", "Unknown"), ("REFUNDED", "Unknown")],
    )
    def test_without_the_order_and_the_key_only_the_capture_speaks(self, status: str, expected: str) -> None:
        connector, _ = at(LATE, answer(200, capture(status)), NO_SUCH)
        assert family(connector.find_refund(COMMAND)) == expected

    def test_a_step_that_does_not_tell_its_age_has_no_key_to_rely_on(self) -> None:
        connector, _ = at(SOON, answer(200, capture("REFUNDED")), NO_SUCH)
        assert family(connector.find_refund(replace(COMMAND, step_key=StepKey("other.1")))) == "Unknown"

    def test_a_capture_that_names_no_order_is_looked_at_alone(self) -> None:
        connector, http = at(LATE, answer(200, capture("REFUNDED", supplementary_data={})))
        assert family(connector.find_refund(COMMAND)) == "Unknown"
        assert len(http.requests) == 1

    @pytest.mark.parametrize(
        ("_case", "answers", "expected"),
        [
            ("no such payment", [NO_SUCH, NO_SUCH], "Unknown"),
            ("the capture does not answer", [answer(500)], "Unknown"),
            ("not allowed", [answer(403, {})], "Retryable unauthorised"),
            ("the order does not answer", [answer(200, capture()), answer(500)], "Unknown"),
            ("the order may not be read", [answer(200, capture()), failure("X", 400)], "Unknown"),
            ("the order is another", [answer(200, capture()), answer(200, order() | {"id": "X"})], "Unknown"),
            ("only authorised", [NO_SUCH, answer(200, authorisation(id=CAPTURE))], "NotFound"),
        ],
    )
    def test_looks_that_see_nothing(self, _case: str, answers: list[Response], expected: str) -> None:
        connector, _ = at(LATE, *answers)
        assert family(connector.find_refund(COMMAND)) == expected


# ---------------------------------------------------------------- void


class TestVoid:
    def test_it_looks_first_and_then_releases_all(self) -> None:
        http = FakeHttp(answer(200, authorisation()), answer(200, authorisation("VOIDED")))
        assert PayPal(http).void_payment(VOID) == Done(AUTHORISATION)
        assert http.calls == [
            f"GET /v2/payments/authorizations/{AUTHORISATION}",
            f"POST /v2/payments/authorizations/{AUTHORISATION}/void",
        ]
        assert http.requests[1].json is None
        assert http.requests[1].headers["PayPal-Request-Id"] == request_id(VOID.key)

    @pytest.mark.parametrize(
        ("_case", "response", "expected"),
        [
            ("released, without a word", answer(204), Done(AUTHORISATION)),
            ("released before", failure("PREVIOUSLY_VOIDED"), AlreadyDone(AUTHORISATION)),
            ("captured", failure("PREVIOUSLY_CAPTURED"), "Permanent captured"),
            ("a reauthorisation", failure("CANNOT_BE_VOIDED"), "Permanent CANNOT_BE_VOIDED"),
            ("another amount", answer(200, authorisation("VOIDED", amount=money("1.00"))), "Permanent amount_mismatch"),
            ("no amount", answer(200, authorisation("VOIDED", amount=None)), "Unknown"),
            ("not released", answer(200, authorisation()), "Unknown"),
            ("another authorisation", answer(200, authorisation("VOIDED", id="X")), "Unknown"),
            ("at work", failure("PREVIOUS_REQUEST_IN_PROGRESS", 409), "Unknown"),
            ("broken", answer(500), "Unknown"),
            ("too often", answer(429), "Retryable throttled"),
            ("not allowed", answer(403, {}), "Retryable unauthorised"),
        ],
    )  # fmt: skip
    def test_answers(self, _case: str, response: Response, expected: Outcome | str) -> None:
        said = PayPal(FakeHttp(answer(200, authorisation()), response)).void_payment(VOID)
        assert said == expected or family(said) == expected

    @pytest.mark.parametrize(
        ("_case", "first", "expected"),
        [
            ("released already", answer(200, authorisation("VOIDED")), AlreadyDone(AUTHORISATION)),
            ("captured", answer(200, authorisation("CAPTURED")), "Permanent captured"),
            ("captured in part", answer(200, authorisation("PARTIALLY_CAPTURED")), "Permanent captured"),
            ("denied", answer(200, authorisation("DENIED")), "Permanent not_voidable"),
            ("over more", answer(200, authorisation(amount=money("90.00"))), "Permanent amount_mismatch"),
            ("not known", NO_SUCH, "Permanent unknown_reference"),
            ("no answer", answer(500), "Retryable unavailable"),
            ("not allowed", answer(403, {}), "Retryable unauthorised"),
        ],
    )
    def test_what_must_not_be_released_is_not_touched(
        self, _case: str, first: Response, expected: Outcome | str
    ) -> None:
        http = FakeHttp(first)
        said = PayPal(http).void_payment(VOID)
        assert said == expected or family(said) == expected
        assert len(http.requests) == 1

    def test_an_orders_authorisation_is_released(self) -> None:
        command = replace(VOID, payment_reference=f"order:{ORDER}")
        http = FakeHttp(answer(200, order(authorizations=[authorisation()])), answer(204))
        assert PayPal(http).void_payment(command) == Done(AUTHORISATION)
        captured = FakeHttp(answer(200, order(captures=[capture()])))
        assert family(PayPal(captured).void_payment(command)) == "Permanent captured"

    @pytest.mark.parametrize(
        ("_case", "response", "expected"),
        [
            ("released", answer(200, authorisation("VOIDED")), Done(AUTHORISATION)),
            ("not released", answer(200, authorisation()), NotFound(CONCLUSIVE_S, "the authorisation is not released: CREATED")),
            ("captured", answer(200, authorisation("CAPTURED")), "Permanent captured"),
            ("not known", NO_SUCH, "Unknown"),
            ("no answer", answer(500), "Unknown"),
            ("refused", failure("X", 400), "Unknown"),
        ],
    )  # fmt: skip
    def test_the_look(self, _case: str, response: Response, expected: Found | str) -> None:
        said = PayPal(FakeHttp(response)).find_void_payment(VOID)
        assert said == expected or family(said) == expected

    def test_an_id_that_is_none_is_not_put_into_a_path(self) -> None:
        http = FakeHttp()
        command = replace(VOID, payment_reference="X/../Y")
        assert family(PayPal(http).void_payment(command)) == "Permanent unknown_reference"
        assert family(PayPal(http).find_void_payment(command)) == "Unknown"
        assert http.requests == []


# ---------------------------------------------------------------- facts


class TestReadPayment:
    def test_a_capture_with_its_refunds_and_disputes(self) -> None:
        listed = order(captures=[capture()], refunds=[refund(), others("10.00"), refund("FAILED", id="F")])
        http = FakeHttp(answer(200, capture("PARTIALLY_REFUNDED")), NO_DISPUTES, answer(200, listed))
        facts = PayPal(http).read_payment("", CAPTURE)
        assert facts == PaymentFacts(
            platform="paypal",
            reference=CAPTURE,
            state=PaymentState.CAPTURED,
            authorised=Money(0, "EUR"),
            captured=Money(9000, "EUR"),
            refunds=(
                RefundFact("1JU08902781691411", AMOUNT, RefundStatus.SUCCEEDED, STEP),
                RefundFact("OTHERS", Money(1000, "EUR"), RefundStatus.SUCCEEDED),
                RefundFact("F", AMOUNT, RefundStatus.FAILED, STEP),
            ),
            refundable_until=datetime(2027, 5, 19, 9, 0, tzinfo=UTC),
            order_number="1042",
        )
        assert http.requests[1].params == [("disputed_transaction_id", CAPTURE), ("page_size", "50")]

    def test_a_capture_that_was_not_refunded_needs_no_list_of_refunds(self) -> None:
        http = FakeHttp(answer(200, capture()), NO_DISPUTES, answer(200, order(captures=[capture()])))
        facts = PayPal(http).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert (facts.refunds, facts.refund_refusal, facts.is_part_refundable) == ((), "", True)

    def test_the_refund_window_is_the_settings(self) -> None:
        http = FakeHttp(answer(200, capture()), NO_DISPUTES, NO_SUCH)
        facts = PayPal(http, timedelta(days=30)).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert facts.refundable_until == datetime(2026, 12, 20, 9, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("field", "number"), [("invoice_id", "1042"), ("custom_id", "shop 7"), ("none", "")]
    )
    def test_the_order_number_stands_where_the_settings_say(self, field: str, number: str) -> None:
        http = FakeHttp(answer(200, capture(custom_id="shop 7")), NO_DISPUTES, NO_SUCH)
        facts = PayPal(http, order_number_field=field).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert facts.order_number == number

    @pytest.mark.parametrize(
        ("_case", "response", "expected"),
        [
            ("pending", answer(200, capture("PENDING")), "Retryable unavailable"),
            ("a status that is new", answer(200, capture("PARTIED")), "Unknown"),
            ("no amount", answer(200, capture(amount=None)), "Unknown"),
            ("another capture", answer(200, capture(id="X")), "Unknown"),
            ("not allowed", failure("PERMISSION_DENIED", 403), "Retryable unauthorised"),
            ("broken", answer(500), "Unknown"),
        ],
    )
    def test_captures_that_tell_nothing(self, _case: str, response: Response, expected: str) -> None:
        assert family(PayPal(FakeHttp(response)).read_payment("", CAPTURE)) == expected

    @pytest.mark.parametrize("status", ["DECLINED", "FAILED"])
    def test_a_capture_that_came_to_nothing_is_not_paid(self, status: str) -> None:
        facts = PayPal(FakeHttp(answer(200, capture(status)))).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert (facts.state, facts.captured) == (PaymentState.NOT_PAID, Money(0, "EUR"))

    @pytest.mark.parametrize(
        ("status", "state", "held"),
        [
            ("CREATED", PaymentState.AUTHORISED, 4250),
            ("VOIDED", PaymentState.VOIDED, 0),
            ("DENIED", PaymentState.NOT_PAID, 0),
        ],
    )
    def test_an_authorisation(self, status: str, state: PaymentState, held: int) -> None:
        http = FakeHttp(NO_SUCH, answer(200, authorisation(status)))
        facts = PayPal(http).read_payment("", AUTHORISATION)
        assert isinstance(facts, PaymentFacts)
        assert (facts.reference, facts.state) == (AUTHORISATION, state)
        assert (facts.authorised.minor, facts.captured.minor) == (held, 0)

    @pytest.mark.parametrize(
        ("status", "expected"), [("PENDING", "Retryable unavailable"), ("PARTIED", "Unknown")]
    )
    def test_an_authorisation_that_is_neither(self, status: str, expected: str) -> None:
        http = FakeHttp(NO_SUCH, answer(200, authorisation(status)))
        assert family(PayPal(http).read_payment("", AUTHORISATION)) == expected

    def test_an_authorisation_that_was_captured_is_known_by_its_capture(self) -> None:
        held = authorisation("PARTIALLY_CAPTURED", amount=money("100.00"))
        listed = order(
            captures=[
                capture(links=[link("up", f"/v2/payments/authorizations/{AUTHORISATION}")]),
                capture(id="OTHER", links=[link("up", "/v2/payments/authorizations/ANOTHER")]),
            ],
            authorizations=[held],
        )
        http = FakeHttp(NO_SUCH, answer(200, held), answer(200, listed), NO_DISPUTES)
        facts = PayPal(http).read_payment("", AUTHORISATION)
        assert isinstance(facts, PaymentFacts)
        assert (facts.reference, facts.captured.minor, facts.authorised.minor) == (CAPTURE, 9000, 1000)
        assert http.is_drained

    @pytest.mark.parametrize(
        ("_case", "listed", "expected"),
        [
            ("the order is gone", NO_SUCH, "Permanent capture_unknown"),
            ("it does not show the capture", answer(200, order()), "Unknown"),
            ("no answer", answer(500), "Unknown"),
            (
                "captured twice",
                answer(
                    200,
                    order(
                        captures=[
                            capture(id=i, links=[link("up", f"/v2/payments/authorizations/{AUTHORISATION}")])
                            for i in ("A", "B")
                        ]
                    ),
                ),
                "Permanent ambiguous",
            ),
        ],
    )
    def test_a_captured_authorisation_whose_capture_is_not_clear(
        self, _case: str, listed: Response, expected: str
    ) -> None:
        http = FakeHttp(NO_SUCH, answer(200, authorisation("CAPTURED")), listed)
        assert family(PayPal(http).read_payment("", AUTHORISATION)) == expected

    def test_a_payment_that_paypal_does_not_know(self) -> None:
        assert family(PayPal(FakeHttp(NO_SUCH, NO_SUCH)).read_payment("", CAPTURE)) == "NotFound"
        assert family(PayPal(FakeHttp(NO_SUCH)).read_payment("", f"order:{ORDER}")) == "NotFound"
        assert family(PayPal(FakeHttp()).read_payment("", "ch_1")) == "Permanent unknown_reference"

    def test_without_the_order_a_whole_capture_is_whole(self) -> None:
        facts = PayPal(FakeHttp(answer(200, capture()), NO_DISPUTES, NO_SUCH)).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert (facts.refunds, facts.refund_refusal) == ((), "")

    def test_without_the_order_a_refunded_capture_has_nothing_left(self) -> None:
        http = FakeHttp(answer(200, capture("REFUNDED")), NO_DISPUTES, NO_SUCH)
        facts = PayPal(http).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert facts.refunded == facts.captured.minor == 9000
        assert facts.refund_refusal

    def test_without_the_order_nobody_knows_how_much_of_a_part_is_left(self) -> None:
        http = FakeHttp(answer(200, capture("PARTIALLY_REFUNDED")), NO_DISPUTES, NO_SUCH)
        assert family(PayPal(http).read_payment("", CAPTURE)) == "Permanent refunds_unknown"

    def test_without_the_order_a_lost_case_says_enough(self) -> None:
        lost = dispute("RESOLVED", dispute_outcome={"outcome_code": "RESOLVED_BUYER_FAVOUR"})
        http = FakeHttp(
            answer(200, capture("PARTIALLY_REFUNDED")), disputes(lost), answer(200, lost), NO_SUCH
        )
        facts = PayPal(http).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert facts.dispute is DisputeState.LOST

    def test_what_a_reversal_took_is_gone_though_no_refund_shows_it(self) -> None:
        listed = order(captures=[capture("REFUNDED")], refunds=[refund()])
        http = FakeHttp(answer(200, capture("REFUNDED")), NO_DISPUTES, answer(200, listed))
        facts = PayPal(http).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert facts.refunded == 9000
        assert facts.refunds[1] == RefundFact(CAPTURE, Money(4750, "EUR"), RefundStatus.SUCCEEDED)

    def test_a_refund_of_unknown_status_counts_as_on_its_way(self) -> None:
        listed = order(captures=[capture()], refunds=[refund("PARTIED")])
        http = FakeHttp(answer(200, capture()), NO_DISPUTES, answer(200, listed))
        facts = PayPal(http).read_payment("", CAPTURE)
        assert isinstance(facts, PaymentFacts)
        assert facts.refunds[0].status is RefundStatus.PENDING

    @pytest.mark.parametrize(
        ("_case", "listed"),
        [
            ("another currency", answer(200, order(captures=[capture()], refunds=[refund(amount=money("1.00", "USD"))]))),
            ("one that cannot be read", answer(200, order(captures=[capture()], refunds=[{}]))),
            ("a list that is none", answer(200, {"id": ORDER, "purchase_units": [{"payments": {"refunds": {}}}]})),
            ("no units", answer(200, {"id": ORDER, "purchase_units": []})),
            ("no answer", answer(500)),
        ],
    )  # fmt: skip
    def test_refunds_that_cannot_be_read_are_never_taken_for_none(self, _case: str, listed: Response) -> None:
        http = FakeHttp(answer(200, capture()), NO_DISPUTES, listed)
        assert family(PayPal(http).read_payment("", CAPTURE)) == "Unknown"


class TestDisputes:
    @pytest.mark.parametrize(
        ("_case", "value", "state"),
        [
            ("an inquiry", dispute(), DisputeState.WARNING),
            ("an inquiry under review", dispute("UNDER_REVIEW"), DisputeState.WARNING),
            ("an inquiry of the bank", dispute(dispute_channel="EXTERNAL"), DisputeState.OPEN),
            ("a claim", dispute("UNDER_REVIEW", "CHARGEBACK"), DisputeState.OPEN),
            ("before arbitration", dispute("OPEN", "PRE_ARBITRATION"), DisputeState.OPEN),
            ("arbitration", dispute("OTHER", "ARBITRATION"), DisputeState.OPEN),
            ("a stage that is new", dispute("OPEN", "PARTY"), DisputeState.OPEN),
            ("no stage", {"dispute_id": DISPUTE, "status": "OPEN"}, DisputeState.OPEN),
            *(
                (f"ended: {code}", dispute("RESOLVED", dispute_outcome={"outcome_code": code}), state)
                for code, state in (
                    ("RESOLVED_SELLER_FAVOUR", DisputeState.WON),
                    ("CANCELED_BY_BUYER", DisputeState.WON),
                    ("DENIED", DisputeState.WON),
                    ("RESOLVED_BUYER_FAVOUR", DisputeState.LOST),
                    ("ACCEPTED", DisputeState.LOST),
                    ("RESOLVED_WITH_PAYOUT", DisputeState.LOST),
                    ("NONE", DisputeState.OPEN),
                    ("PARTY", DisputeState.OPEN),
                )
            ),
            ("ended, not said how", dispute("RESOLVED"), DisputeState.OPEN),
        ],
    )
    def test_states(self, _case: str, value: Any, state: DisputeState) -> None:
        assert dispute_state(value) is state

    def read(self, *answers: Response, status: str = "COMPLETED", **more: Any) -> Any:
        return PayPal(FakeHttp(answer(200, capture(status, **more)), *answers, NO_SUCH)).read_payment(
            "", CAPTURE
        )

    def test_a_case_that_paypal_runs_refuses_parts(self) -> None:
        facts = self.read(disputes(dispute()))
        assert (facts.dispute, facts.dispute_reference) == (DisputeState.WARNING, DISPUTE)
        assert facts.is_part_refundable is False

    def test_a_case_of_the_bank_takes_all(self) -> None:
        facts = self.read(disputes(dispute("OPEN", "CHARGEBACK", dispute_channel="EXTERNAL")))
        assert (facts.dispute, facts.is_part_refundable) == (DisputeState.OPEN, True)

    def test_how_a_case_ended_is_read_from_the_case(self) -> None:
        won = dispute("RESOLVED", dispute_outcome={"outcome_code": "RESOLVED_SELLER_FAVOUR"})
        facts = self.read(disputes(dispute("RESOLVED")), answer(200, won))
        assert (facts.dispute, facts.is_part_refundable) == (DisputeState.WON, True)

    def test_of_several_the_gravest_speaks(self) -> None:
        bank = dispute("OPEN", "CHARGEBACK", dispute_id="PP-D-2", dispute_channel="EXTERNAL")
        facts = self.read(disputes(dispute(), after="Mg=="), disputes(bank))
        assert (facts.dispute, facts.dispute_reference) == (DisputeState.OPEN, "PP-D-2")
        assert facts.is_part_refundable is False

    def test_further_pages_are_asked_for_by_their_token(self) -> None:
        http = FakeHttp(answer(200, capture()), disputes(dispute(), after="Mg=="), NO_DISPUTES, NO_SUCH)
        PayPal(http).read_payment("", CAPTURE)
        assert http.requests[2].params == [
            ("disputed_transaction_id", CAPTURE),
            ("page_size", "50"),
            ("next_page_token", "Mg=="),
        ]

    def test_a_list_without_end_is_no_answer(self) -> None:
        pages = FakeHttp(answer(200, capture()), always=disputes(after="Mg=="))
        assert family(PayPal(pages).read_payment("", CAPTURE)) == "Unknown"

    @pytest.mark.parametrize(
        ("reason", "state"),
        [
            ("CHARGEBACK", DisputeState.OPEN),
            ("BUYER_COMPLAINT", DisputeState.WARNING),
            ("OTHER", DisputeState.NONE),
        ],
    )
    def test_a_capture_may_know_of_a_case_before_the_list_does(
        self, reason: str, state: DisputeState
    ) -> None:
        assert self.read(NO_DISPUTES, status_details={"reason": reason}).dispute is state

    @pytest.mark.parametrize(
        ("_case", "answers", "expected"),
        [
            ("not allowed", [failure("PERMISSION_DENIED", 403)], "Retryable unauthorised"),
            ("broken", [answer(500)], "Unknown"),
            ("a list that is none", [answer(200, {"items": "x"})], "Unknown"),
            ("no dispute", [disputes({"dispute_id": 7})], "Unknown"),
            ("an id that is no path", [disputes(dispute("RESOLVED", dispute_id="../x"))], ""),
            ("an ended one that cannot be read", [disputes(dispute("RESOLVED")), answer(500)], "Unknown"),
            (
                "an ended one that is another",
                [disputes(dispute("RESOLVED")), answer(200, dispute(dispute_id="PP-D-9"))],
                "Unknown",
            ),
        ],
    )
    def test_disputes_that_cannot_be_read_are_never_taken_for_none(
        self, _case: str, answers: list[Response], expected: str
    ) -> None:
        read = self.read(*answers)
        if expected:
            assert family(read) == expected
        else:
            assert read.dispute is DisputeState.OPEN


class TestCheck:
    @pytest.mark.parametrize(
        ("response", "is_ok"),
        [
            (NO_DISPUTES, True),
            (disputes(dispute()), True),
            (answer(401, {"error": "invalid_token"}), False),
            (failure("PERMISSION_DENIED", 403), False),
            (answer(200, "<html>"), False),
        ],
    )
    def test_it_is_one_authenticated_read(self, response: Response, is_ok: bool) -> None:
        http = FakeHttp(response)
        health = PayPal(http).check()
        assert (health.is_ok, bool(health.detail)) == (is_ok, True)
        assert http.calls == ["GET /v1/customer/disputes"]


# ---------------------------------------------------------------- settings


class TestCredentials:
    def test_the_token_is_asked_for_with_the_apps_login_and_shared_by_all_workers(self) -> None:
        wire = FakeWire()
        build(CREDENTIALS, wire)
        (request,) = wire.token_requests
        assert (request.method, request.path) == ("POST", "/v1/oauth2/token")
        assert request.form == [("grant_type", "client_credentials")]
        assert request.auth == ("client", "paypal-practice-secret")
        assert "paypal-practice-secret" not in repr(CREDENTIALS)

    @pytest.mark.parametrize(
        "changes",
        [
            {"refund_window_days": "half a year"},
            {"refund_window_days": "0"},
            {"refund_window_days": "-3"},
            {"webhook_check": "none"},
            {"order_number_field": "email"},
            {"certificate_host": ""},
            {"certificate_host": "paypal.com"},
            {"certificate_host": ".com"},
            {"certificate_authority": "/nowhere/roots.pem"},
        ],
    )
    def test_settings_that_cannot_work_are_refused(self, changes: dict[str, str]) -> None:
        with pytest.raises(ValueError, match=next(iter(changes))):
            replace(CREDENTIALS, **changes)  # type: ignore[arg-type] # names and texts from the table

    @pytest.mark.parametrize(
        "base_url",
        ["https://api-m.paypal.com", "https://api-m.sandbox.paypal.com", "https://API-M.PayPal.com./", "https://paypal.com"],
    )  # fmt: skip
    @pytest.mark.parametrize(
        "changes",
        [
            {"certificate_base_url": "http://127.0.0.1:9000/paypal"},
            {"certificate_authority": "practice"},
            {"certificate_authority": "practice", "certificate_base_url": "http://127.0.0.1:9000/paypal"},
        ],
    )
    def test_practice_settings_are_refused_beside_the_real_paypal(
        self, base_url: str, changes: dict[str, str]
    ) -> None:
        with pytest.raises(ValueError, match="practice vendor"):
            replace(CREDENTIALS, base_url=base_url, **changes)  # type: ignore[arg-type] # as above

    def test_a_practice_certificate_needs_a_practice_address(self) -> None:
        with pytest.raises(ValueError, match="practice vendor"):
            replace(CREDENTIALS, base_url="http://127.0.0.1:9000", certificate_authority="practice")

    def test_a_proxy_in_front_of_paypal_changes_nothing_about_trust(self) -> None:
        proxied = replace(
            CREDENTIALS, base_url="https://egress.shop.example", certificate_base_url="https://egress.shop.example"
        )  # fmt: skip
        inbound = build_inbound(proxied, FakeWire())
        assert isinstance(inbound.check, CertificateCheck)
        assert inbound.check.authority == ""

    def test_certificates_are_fetched_without_any_credentials_of_ours(self) -> None:
        wire = FakeWire()
        build_inbound(CREDENTIALS, wire)
        (made,) = wire.made
        assert not {"auth", "tokens", "headers", "oauth1"} & made.keys()
        assert made["platform"] != "paypal"  # paced apart from the calls about money
        assert wire.token_requests == []

    def test_asking_paypal_takes_our_token(self) -> None:
        wire = FakeWire()
        inbound = build_inbound(replace(CREDENTIALS, webhook_check="api"), wire)
        assert isinstance(inbound.check, ApiCheck)
        assert [bool(m.get("tokens")) for m in wire.made] == [False, True]
        assert {m["platform"] for m in wire.made} == {"paypal.webhooks"}


# ---------------------------------------------------------------- signatures

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
BODY = b'{"id":"WH-1","event_type":"PAYMENT.CAPTURE.REFUNDED","resource":{},"note":"\\u00e4"}'


def make_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


ROOT_KEY, LEAF_KEY, FOREIGN_KEY = make_key(), make_key(), make_key()


def certificate(
    name: str,
    key: Any,
    issuer: str,
    issuer_key: rsa.RSAPrivateKey,
    *,
    is_ca: bool = False,
    days: tuple[int, int] = (-30, 30),
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(not is_ca, False, False, False, False, is_ca, is_ca, False, False), critical=True
        )
    )
    if not is_ca:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


NAME = "messageverificationcerts.paypal.com"
ROOT = certificate("Practice Root", ROOT_KEY, "Practice Root", ROOT_KEY, is_ca=True, days=(-900, 900))
LEAF = certificate(NAME, LEAF_KEY, "Practice Root", ROOT_KEY)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def sign(body: bytes = BODY, *, key: rsa.RSAPrivateKey = LEAF_KEY, message: bytes | None = None) -> str:
    said = f"T-1|2026-11-25T11:59:00Z|4JH86294D6297924G|{zlib.crc32(body)}".encode()
    return base64.b64encode(key.sign(message or said, padding.PKCS1v15(), hashes.SHA256())).decode()


def delivery(body: bytes = BODY, **changes: str) -> Delivery:
    headers = {
        "paypal-transmission-id": "T-1",
        "paypal-transmission-time": "2026-11-25T11:59:00Z",
        "paypal-transmission-sig": sign(),
        "paypal-cert-url": URL,
        "paypal-auth-algo": "SHA256withRSA",
    }
    return Delivery(headers | {f"paypal-{n.replace('_', '-')}": v for n, v in changes.items()}, body)


@pytest.fixture
def roots(tmp_path: Path) -> str:
    path = tmp_path / "roots.pem"
    path.write_bytes(pem(ROOT))
    return str(path)


def inbound(http: FakeHttp, roots: str, webhook_id: str = "4JH86294D6297924G") -> PayPalInbound:
    return PayPalInbound(webhook_id, CertificateCheck(Certificates(http), roots))


class TestCertificateCheck:
    def test_a_delivery_of_paypals_is_verified_and_its_certificate_fetched_once(self, roots: str) -> None:
        http = FakeHttp(answer(200, pem(LEAF)))
        door = inbound(http, roots)
        for _ in range(3):
            assert door.verify(delivery(), NOW) == Verified("WH-1", "PAYMENT.CAPTURE.REFUNDED")
        assert http.sent == Request("GET", URL, "paypal.fetch_certificate", headers={"Accept": "*/*"})

    def test_a_chain_with_an_authority_in_between_is_followed(self, roots: str, tmp_path: Path) -> None:
        middle_key = make_key()
        middle = certificate("Practice Issuer", middle_key, "Practice Root", ROOT_KEY, is_ca=True)
        leaf = certificate(NAME, LEAF_KEY, "Practice Issuer", middle_key)
        whole = inbound(FakeHttp(answer(200, pem(leaf, middle))), roots)
        assert isinstance(whole.verify(delivery(), NOW), Verified)
        broken = inbound(FakeHttp(answer(200, pem(leaf))), roots)
        assert isinstance(broken.verify(delivery(), NOW), Refused)
        # Whoever keeps the one in between themselves needs only the certificate.
        (tmp_path / "both.pem").write_bytes(pem(ROOT, middle))
        kept = inbound(FakeHttp(answer(200, pem(leaf))), str(tmp_path / "both.pem"))
        assert isinstance(kept.verify(delivery(), NOW), Verified)

    def test_any_of_several_webhooks_will_do(self, roots: str) -> None:
        http = FakeHttp(always=answer(200, pem(LEAF)))
        assert isinstance(inbound(http, roots, "NEW, 4JH86294D6297924G").verify(delivery(), NOW), Verified)
        assert isinstance(inbound(http, roots, "NEW, OTHER").verify(delivery(), NOW), Refused)

    @pytest.mark.parametrize(
        ("_case", "message"),
        [
            ("another webhook", f"T-1|2026-11-25T11:59:00Z|WEBHOOK_ID|{zlib.crc32(BODY)}"),
            ("another order", f"2026-11-25T11:59:00Z|T-1|4JH86294D6297924G|{zlib.crc32(BODY)}"),
            ("the CRC in hexadecimal", f"T-1|2026-11-25T11:59:00Z|4JH86294D6297924G|{zlib.crc32(BODY):x}"),
            ("a signed CRC", f"T-1|2026-11-25T11:59:00Z|4JH86294D6297924G|{zlib.crc32(BODY) - 2**32}"),
            ("the body itself", f"T-1|2026-11-25T11:59:00Z|4JH86294D6297924G|{BODY.decode()}"),
            ("an older transmission", f"T-0|2026-11-24T11:59:00Z|4JH86294D6297924G|{zlib.crc32(BODY)}"),
            ("the body alone", BODY.decode()),
        ],
    )
    def test_signatures_over_anything_else_are_refused(self, roots: str, _case: str, message: str) -> None:
        door = inbound(FakeHttp(answer(200, pem(LEAF))), roots)
        said = door.verify(delivery(transmission_sig=sign(message=message.encode())), NOW)
        assert said == Refused("the signature does not match")

    def test_a_body_that_was_written_anew_is_refused(self, roots: str) -> None:
        again = json.dumps(json.loads(BODY)).encode()
        door = inbound(FakeHttp(answer(200, pem(LEAF))), roots)
        assert door.verify(delivery(again), NOW) == Refused("the signature does not match")

    @pytest.mark.parametrize(
        ("_case", "changes"),
        [
            ("no id", {"transmission_id": ""}),
            ("no time", {"transmission_time": ""}),
            ("no signature", {"transmission_sig": ""}),
            ("no certificate", {"cert_url": ""}),
            ("no algorithm", {"auth_algo": ""}),
            ("a header without end", {"transmission_sig": "A" * 1001}),
            ("another algorithm", {"auth_algo": "SHA1withRSA"}),
            ("a signature that is no base64", {"transmission_sig": "&&&"}),
            ("another host", {"cert_url": "https://evil.example/v1/notifications/certs/CERT-1"}),
        ],
    )
    def test_bad_headers_are_refused_and_nothing_is_fetched(
        self, roots: str, _case: str, changes: dict[str, str]
    ) -> None:
        http = FakeHttp()
        assert isinstance(inbound(http, roots).verify(delivery(BODY, **changes), NOW), Refused)
        assert http.requests == []

    @pytest.mark.parametrize(
        "url",
        [
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://paypal.com.evil.example/certs/CERT-1",
            "https://evilpaypal.com/certs/CERT-1",
            "https://api.paypal.com@evil.example/certs/CERT-1",
            "https://evil.example/#.paypal.com",
            "https://evil.example/?x=.paypal.com/",
            "https://evil.example\\.paypal.com/certs/CERT-1",
            "https://api.paypal.com:8443/certs/CERT-1",
            "https://api.paypal.com/certs/CERT-1?next=https://evil.example",
            "https://api.paypal.com/certs/%2e%2e/CERT-1",
            "https://api.paypal.com/certs/CERT-1\n",
            "https://.paypal.com/certs/CERT-1",
            "https://127.0.0.1/certs/CERT-1",
            "https://api.paypal.com",
            "ftp://api.paypal.com/certs/CERT-1",
            "/v1/notifications/certs/CERT-1",
        ],
    )
    def test_addresses_that_are_not_paypals(self, url: str) -> None:
        assert address_refusal(url, ".paypal.com")

    @pytest.mark.parametrize("host", ["api.paypal.com", "api-m.paypal.com", "api-m.sandbox.paypal.com"])
    def test_addresses_that_are(self, host: str) -> None:
        assert address_refusal(f"https://{host}/v1/notifications/certs/CERT-1", ".paypal.com") == ""

    @pytest.mark.parametrize(
        ("_case", "made", "reason"),
        [
            ("of another authority", lambda: certificate(NAME, LEAF_KEY, "Practice Root", FOREIGN_KEY), "vouched for"),
            ("vouching for itself", lambda: certificate(NAME, LEAF_KEY, NAME, LEAF_KEY), "vouched for"),
            ("of another name", lambda: certificate("hooks.evil.example", LEAF_KEY, "Practice Root", ROOT_KEY), "name"),
            ("of a name that only looks like it", lambda: certificate("x.paypal.com.evil.example", LEAF_KEY, "Practice Root", ROOT_KEY), "name"),
            ("of a name without the dot", lambda: certificate("evilpaypal.com", LEAF_KEY, "Practice Root", ROOT_KEY), "name"),
            ("expired", lambda: certificate(NAME, LEAF_KEY, "Practice Root", ROOT_KEY, days=(-30, -1)), "valid now"),
            ("not valid yet", lambda: certificate(NAME, LEAF_KEY, "Practice Root", ROOT_KEY, days=(1, 30)), "valid now"),
            ("an authority's own", lambda: certificate(NAME, LEAF_KEY, "Practice Root", ROOT_KEY, is_ca=True), "vouched for"),
        ],
    )  # fmt: skip
    def test_certificates_that_are_not_believed(
        self, roots: str, _case: str, made: Callable[[], x509.Certificate], reason: str
    ) -> None:
        said = inbound(FakeHttp(answer(200, pem(made()))), roots).verify(delivery(), NOW)
        assert isinstance(said, Refused)
        assert reason in said.reason

    def test_a_private_authority_is_not_among_the_public_ones(self) -> None:
        said = inbound(FakeHttp(answer(200, pem(LEAF))), "").verify(delivery(), NOW)
        assert isinstance(said, Refused)
        assert "vouched for" in said.reason

    def test_the_public_authorities_are_read_once(self) -> None:
        assert public_roots() is public_roots()

    def test_a_key_of_another_kind_is_refused(self, roots: str) -> None:
        curve = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(NAME, curve, "Practice Root", ROOT_KEY)
        said = inbound(FakeHttp(answer(200, pem(leaf))), roots).verify(delivery(), NOW)
        assert said == Refused("the certificate's key is of another kind than the signature")

    def test_a_certificate_that_grew_old_is_fetched_anew(self, roots: str) -> None:
        later = NOW + timedelta(days=40)
        fresh = certificate(NAME, LEAF_KEY, "Practice Root", ROOT_KEY, days=(20, 90))
        door = inbound(FakeHttp(answer(200, pem(LEAF)), answer(200, pem(fresh))), roots)
        said = [type(door.verify(delivery(), moment)) for moment in (NOW, later, later)]
        assert said == [Verified, Refused, Verified]

    def test_memory_for_certificates_has_an_end(self, roots: str) -> None:
        http = FakeHttp(always=answer(200, pem(LEAF)))
        door = inbound(http, roots)
        for number in range(40):
            door.verify(delivery(cert_url=f"{URL}{number}"), NOW)
        door.verify(delivery(cert_url=f"{URL}39"), NOW)
        assert len(http.requests) == 40
        door.verify(delivery(cert_url=f"{URL}0"), NOW)
        assert len(http.requests) == 41

    def test_a_certificate_that_paypal_does_not_have_is_a_forgery(self, roots: str) -> None:
        said = inbound(FakeHttp(NO_SUCH), roots).verify(delivery(), NOW)
        assert said == Refused("there is no such certificate at PayPal")

    @pytest.mark.parametrize(
        "trouble",
        [
            answer(500),
            answer(429),
            answer(302, "", {"Location": "https://evil.example"}),
            answer(200, "<html>maintenance</html>"),
            answer(200, ""),
            NotSentError("refused"),
            MaybeSentError("reset"),
        ],
    )
    def test_a_certificate_that_cannot_be_had_refuses_nobody_and_is_not_remembered(
        self, roots: str, trouble: Any
    ) -> None:
        door = inbound(FakeHttp(trouble, answer(200, pem(LEAF))), roots)
        with pytest.raises((NotSentError, MaybeSentError)):
            door.verify(delivery(), NOW)
        assert isinstance(door.verify(delivery(), NOW), Verified)

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{}", b'{"id":"WH-1"}', b'{"id":7,"event_type":"X"}', b"\xff"]
    )
    def test_a_signed_body_that_is_no_event_is_refused(self, roots: str, body: bytes) -> None:
        door = inbound(FakeHttp(answer(200, pem(LEAF))), roots)
        assert door.verify(delivery(body, transmission_sig=sign(body)), NOW) == Refused(
            "the body is no event"
        )

    def test_without_a_webhook_id_nothing_is_believed(self, roots: str) -> None:
        http = FakeHttp()
        assert inbound(http, roots, " , ").verify(delivery(), NOW) == Refused("no webhook id is set")
        assert http.requests == []


class TestPracticeCertificates:
    def door(self, http: FakeHttp) -> PayPalInbound:
        practice = replace(
            CREDENTIALS,
            base_url="http://127.0.0.1:9000/paypal",
            certificate_base_url="http://127.0.0.1:9000/paypal",
            certificate_authority="practice",
        )
        return build_inbound(practice, FakeWire(http))

    def test_a_practice_vendors_certificate_vouches_for_itself_and_is_fetched_from_it(self) -> None:
        own = certificate(NAME, LEAF_KEY, NAME, LEAF_KEY, is_ca=True)
        http = FakeHttp(answer(200, pem(own)))
        assert isinstance(self.door(http).verify(delivery(), NOW), Verified)
        assert http.sent.path == "/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"

    @pytest.mark.parametrize(
        "made",
        [
            lambda: certificate(NAME, LEAF_KEY, "Practice Root", ROOT_KEY),
            lambda: certificate("x.evil.example", LEAF_KEY, "x.evil.example", LEAF_KEY, is_ca=True),
            lambda: certificate(NAME, LEAF_KEY, NAME, LEAF_KEY, is_ca=True, days=(-9, -1)),
        ],
    )
    def test_everything_else_is_checked_as_ever(self, made: Callable[[], x509.Certificate]) -> None:
        http = FakeHttp(answer(200, pem(made())))
        assert isinstance(self.door(http).verify(delivery(), NOW), Refused)


class TestApiCheck:
    def test_the_event_is_embedded_byte_for_byte(self) -> None:
        http = FakeHttp(answer(200, {"verification_status": "SUCCESS"}))
        odd = b'{"id":"WH-1" ,"event_type":"X.Y", "n":1.10,"t":"\\u00e4\xc3\xa4"}'
        door = PayPalInbound("4JH86294D6297924G", ApiCheck(http))
        assert door.verify(delivery(odd), NOW) == Verified("WH-1", "X.Y")
        sent = http.sent
        assert (sent.method, sent.path, sent.json) == (
            "POST",
            "/v1/notifications/verify-webhook-signature",
            None,
        )
        assert sent.headers == {"Content-Type": "application/json"}
        assert sent.body is not None
        assert sent.body.endswith(b', "webhook_event": ' + odd + b"}")
        whole = json.loads(sent.body)
        assert whole.pop("webhook_event") == json.loads(odd)
        assert whole == {
            "auth_algo": "SHA256withRSA",
            "cert_url": URL,
            "transmission_id": "T-1",
            "transmission_sig": sign(),
            "transmission_time": "2026-11-25T11:59:00Z",
            "webhook_id": "4JH86294D6297924G",
        }

    @pytest.mark.parametrize(
        ("answers", "expected"),
        [
            ([answer(200, {"verification_status": "FAILURE"})] * 2, Refused),
            ([answer(200, {"verification_status": "FAILURE"}), answer(200, {"verification_status": "SUCCESS"})], Verified),
            ([failure("INVALID_PARAMETER_SYNTAX", 400)] * 2, Refused),
        ],
    )  # fmt: skip
    def test_answers_for_two_webhooks(self, answers: list[Response], expected: type) -> None:
        door = PayPalInbound("ONE,TWO", ApiCheck(FakeHttp(*answers)))
        assert isinstance(door.verify(delivery(), NOW), expected)

    @pytest.mark.parametrize(
        "trouble",
        [answer(500), answer(429), answer(401, {}), answer(403, {}), answer(200, "<html>"), answer(200, {}), MaybeSentError("reset")],
    )  # fmt: skip
    def test_no_answer_is_no_refusal(self, trouble: Any) -> None:
        with pytest.raises((NotSentError, MaybeSentError)):
            PayPalInbound("ONE", ApiCheck(FakeHttp(trouble))).verify(delivery(), NOW)

    @pytest.mark.parametrize(
        "body",
        [
            b'{}, "webhook_id": "EVIL"',
            b'{"id":"WH-1"}} {',
            b"[]",
            b'"x"',
            b"",
            b"\xff\xfe{\x00}\x00",
            '{"id":"WH-1","event_type":"X"}'.encode("utf-16"),
            b'\xef\xbb\xbf{"id":"WH-1"}',
            b"[" * 200_000,
        ],
    )
    def test_what_could_break_out_of_the_document_is_not_sent(self, body: bytes) -> None:
        http = FakeHttp()
        door = PayPalInbound("ONE", ApiCheck(http))
        assert door.verify(delivery(body), NOW) == Refused("the body is no event")
        assert http.requests == []
        assert read_event_text(body) is None


def test_the_signed_message_of_the_published_vector_has_its_crc() -> None:
    signed = Transmission("dfb3be50", "2015-05-18T15:45:13Z", "", "", "")
    assert signed_message(signed, "4JH8", b"123456789") == b"dfb3be50|2015-05-18T15:45:13Z|4JH8|3421780262"


# ---------------------------------------------------------------- events


def event(topic: str, resource: Any, **more: Any) -> bytes:
    return json.dumps({"id": "WH-1", "event_type": topic, "resource": resource, **more}).encode()


def read(topic: str, resource: Any, **more: Any) -> Reading:
    return PayPalInbound("ONE", ApiCheck(FakeHttp())).read_event(topic, event(topic, resource, **more))


WHOLE_DISPUTE = dispute(disputed_transactions=[{"seller_transaction_id": CAPTURE}])


class TestEvents:
    @pytest.mark.parametrize(
        ("_case", "resource", "expected"),
        [
            (
                "ours",
                refund(),
                RefundSeen("paypal", CAPTURE, "1JU08902781691411", RefundStatus.SUCCEEDED, AMOUNT, STEP),
            ),
            (
                "made in the dashboard",
                others("10.00"),
                RefundSeen("paypal", CAPTURE, "OTHERS", RefundStatus.SUCCEEDED, Money(1000, "EUR")),
            ),
            (
                "on its way",
                refund("PENDING", status_details={"reason": "ECHECK"}),
                RefundSeen(
                    "paypal", CAPTURE, "1JU08902781691411", RefundStatus.PENDING, AMOUNT, STEP, None, "ECHECK"
                ),
            ),
            ("a status that is new", refund("PARTIED"), PaymentRefundsChanged("paypal", CAPTURE)),
            ("an amount that is none", refund(amount=None), PaymentRefundsChanged("paypal", CAPTURE)),
        ],
    )
    def test_refunds(self, _case: str, resource: Any, expected: Reading) -> None:
        assert read("PAYMENT.CAPTURE.REFUNDED", resource) == expected

    def test_a_refund_that_failed_later(self) -> None:
        seen = read("PAYMENT.REFUND.FAILED", refund("FAILED"))
        assert isinstance(seen, RefundSeen)
        assert (seen.status, seen.step_key) == (RefundStatus.FAILED, STEP)

    @pytest.mark.parametrize(
        ("_case", "resource", "kind", "amount", "reference"),
        [
            ("as the capture", capture("REFUNDED"), "capture", None, f"reversal:{CAPTURE}"),
            ("as a reversal", refund(custom_id=""), "refund", AMOUNT, "reversal:1JU08902781691411"),
        ],
    )
    def test_money_that_paypal_took_back_stops_refunds(
        self, _case: str, resource: Any, kind: str, amount: Money | None, reference: str
    ) -> None:
        assert read("PAYMENT.CAPTURE.REVERSED", resource, resource_type=kind) == DisputeSeen(
            "paypal", CAPTURE, reference, DisputeState.OPEN, amount, "REVERSED"
        )

    @pytest.mark.parametrize(
        ("topic", "changes", "state"),
        [
            ("CREATED", {}, DisputeState.WARNING),
            ("UPDATED", {"dispute_life_cycle_stage": "CHARGEBACK"}, DisputeState.OPEN),
            ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "ACCEPTED"}}, DisputeState.LOST),
            ("RESOLVED", {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "DENIED"}}, DisputeState.WON),
        ],
    )  # fmt: skip
    def test_disputes(self, topic: str, changes: Any, state: DisputeState) -> None:
        assert read(f"CUSTOMER.DISPUTE.{topic}", WHOLE_DISPUTE | changes) == DisputeSeen(
            "paypal",
            CAPTURE,
            DISPUTE,
            state,
            Money(9000, "EUR"),
            "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        )

    @pytest.mark.parametrize(
        "topic",
        [
            "PAYMENT.CAPTURE.COMPLETED",
            "PAYMENT.CAPTURE.PENDING",
            "PAYMENT.AUTHORIZATION.VOIDED",
            "CHECKOUT.PAYMENT-APPROVAL.REVERSED",
            "BILLING.PLAN.CREATED",
        ],
    )
    def test_other_topics_ask_nothing_of_us(self, topic: str) -> None:
        assert isinstance(read(topic, None), Irrelevant)

    @pytest.mark.parametrize(
        ("topic", "resource", "field"),
        [
            ("PAYMENT.CAPTURE.REFUNDED", None, "resource"),
            ("PAYMENT.CAPTURE.REFUNDED", refund(links=[]), "resource.links"),
            ("PAYMENT.CAPTURE.REFUNDED", refund(links="x"), "resource.links"),
            ("PAYMENT.CAPTURE.REVERSED", {"id": "../x"}, "resource.id"),
            ("CUSTOMER.DISPUTE.CREATED", {}, "resource.dispute_id"),
            (
                "CUSTOMER.DISPUTE.CREATED",
                dispute(),
                "resource.disputed_transactions[0].seller_transaction_id",
            ),
            (
                "CUSTOMER.DISPUTE.CREATED",
                dispute(disputed_transactions=[{"buyer_transaction_id": "X"}]),
                "resource.disputed_transactions[0].seller_transaction_id",
            ),
        ],
    )
    def test_events_without_what_they_must_have(self, topic: str, resource: Any, field: str) -> None:
        with pytest.raises(MalformedError) as error:
            read(topic, resource)
        assert error.value.field == field
