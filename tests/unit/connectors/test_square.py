"""Square's answers → outcomes, its traps, its events. No sockets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import Capability
from refundflow.connectors.square import (
    REFUSALS,
    SPEC,
    Credentials,
    Square,
    SquareInbound,
    build,
    dispute_state,
    read_failure,
    read_reason,
    refund_key,
    refund_request,
)
from refundflow.domain.facts import (
    DisputeState,
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
    Tender,
)
from refundflow.domain.ids import StepKey
from refundflow.domain.inbound import (
    Delivery,
    DisputeSeen,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    RefundSeen,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Response
from refundflow.transport.redact import Redaction
from tests.support.commands import command_for
from tests.support.fake_http import FakeHttp, FakeWire, answer

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CANCEL: Any = command_for(Capability.CANCEL_ORDER, {"order_id": "O1", "restock": False})
REFUND: Any = command_for(Capability.REFUND, {"order_id": "O1", "payment_reference": "P1"})
VOID: Any = command_for(Capability.VOID_PAYMENT, {"order_id": "O1", "payment_reference": "P1"})
RESTOCK: Any = command_for(
    Capability.RESTOCK, {"order_id": "O1", "lines": (LineQuantity("LI1", 2),), "location": ""}
)
AT = "2026-11-20T09:00:00Z"


def eur(minor: int) -> dict[str, Any]:
    return {"amount": minor, "currency": "EUR"}


def line(uid: str = "LI1", quantity: str = "2", total: int = 3000, **more: Any) -> dict[str, Any]:
    article = {"catalog_object_id": f"V-{uid}"}
    return {"uid": uid, "name": "Mug", "quantity": quantity, "total_money": eur(total), **article, **more}


def fulfilment(state: str = "PROPOSED", uid: str = "F1", **more: Any) -> dict[str, Any]:
    return {"uid": uid, "type": "SHIPMENT", "state": state, "line_item_application": "ALL", **more}


def tender(payment: str = "P1", minor: int = 4250, kind: str = "CARD", **more: Any) -> dict[str, Any]:
    named = {"payment_id": payment} if payment else {}
    return {"id": payment or "T1", "type": kind, "amount_money": eur(minor), **named, **more}


def order(**more: Any) -> dict[str, Any]:
    return {
        "id": "O1",
        "location_id": "L1",
        "reference_id": "1042",
        "version": 4,
        "state": "OPEN",
        "created_at": AT,
        "updated_at": AT,
        "total_money": eur(4250),
        "line_items": [line()],
        "fulfillments": [fulfilment()],
        "tenders": [tender()],
        **more,
    }


def payment(**more: Any) -> dict[str, Any]:
    return {
        "id": "P1",
        "status": "COMPLETED",
        "source_type": "CARD",
        "created_at": AT,
        "total_money": eur(4250),
        "order_id": "O1",
        "location_id": "L1",
        **more,
    }


def refund(**more: Any) -> dict[str, Any]:
    return {
        "id": "R1",
        "status": "COMPLETED",
        "amount_money": eur(4250),
        "payment_id": "P1",
        "reason": f"refundflow {REFUND.step_key}",
        **more,
    }


def order_says(**more: Any) -> Response:
    return answer(200, {"order": order(**more)})


def payment_says(**more: Any) -> Response:
    return answer(200, {"payment": payment(**more)})


def refund_says(**more: Any) -> Response:
    return answer(200, {"refund": refund(**more)})


def error(code: str, status: int = 400, field: str = "", category: str = "INVALID_REQUEST_ERROR") -> Response:
    told = {"category": category, "code": code, "detail": "no", **({"field": field} if field else {})}
    return answer(status, {"errors": [told]})


def square(*answers: Any, always: Any = None, locations: tuple[str, ...] = ()) -> tuple[Square, FakeHttp]:
    http = FakeHttp(*answers, always=always)
    return Square(http, locations, 120, lambda: NOW), http


def code_of(said: Any) -> str:
    assert isinstance(said, Permanent | Retryable), said
    return said.code


CANCELLED = [fulfilment("CANCELED")]
NOTED = {"refundflow_cancel": CANCEL.step_key}


class TestReadingOrders:
    def test_an_order_and_each_of_its_payments_are_read(self) -> None:
        api, http = square(order_says(), payment_says(buyer_email_address="ada@shop.example"))
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert (facts.number, facts.email, facts.created_at) == (
            "1042",
            "ada@shop.example",
            datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
        )
        assert http.calls == ["GET /v2/orders/O1", "GET /v2/payments/P1"]

    def test_an_order_without_a_number_goes_by_its_id(self) -> None:
        api, _ = square(order_says(reference_id=None, tenders=None))
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert (facts.number, facts.payments) == ("O1", ())

    def test_the_recipient_is_the_customer(self) -> None:
        person = {"email_address": "ada@shop.example", "display_name": "Ada Lovelace"}
        api, _ = square(
            order_says(fulfillments=[fulfilment(shipment_details={"recipient": person})], tenders=[])
        )
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert (facts.email, facts.customer_name) == ("ada@shop.example", "Ada Lovelace")

    @pytest.mark.parametrize(
        ("_case", "more", "left"),
        [
            ("proposed", {"fulfillments": [fulfilment()]}, 2),
            ("completed", {"fulfillments": [fulfilment("COMPLETED")]}, 0),
            ("cancelled", {"fulfillments": [fulfilment("CANCELED")]}, 2),
            ("none, and open", {"fulfillments": []}, 2),
            ("none, and closed", {"fulfillments": [], "state": "COMPLETED"}, 0),
            (
                "one of two",
                {
                    "fulfillments": [
                        fulfilment(
                            "COMPLETED",
                            line_item_application="ENTRY_LIST",
                            entries=[{"line_item_uid": "LI1", "quantity": "1"}],
                        ),
                        fulfilment(uid="F2"),
                    ]
                },
                1,
            ),
            (
                "a part of a unit counts as that unit",
                {
                    "fulfillments": [
                        fulfilment(
                            "COMPLETED",
                            line_item_application="ENTRY_LIST",
                            entries=[{"line_item_uid": "LI1", "quantity": "0.5"}],
                        )
                    ]
                },
                1,
            ),
        ],
    )
    def test_what_was_not_shipped_follows_from_the_fulfilments(
        self, _case: str, more: dict[str, Any], left: int
    ) -> None:
        api, _ = square(order_says(**more), payment_says())
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert [x.unfulfilled for x in facts.lines] == [left]

    def test_what_is_measured_is_one_unit(self) -> None:
        api, _ = square(order_says(line_items=[line(quantity="2.25")], tenders=[]))
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert [(x.quantity, x.unit) for x in facts.lines] == [(1, Money(3000, "EUR"))]

    @pytest.mark.parametrize(
        ("_case", "more", "paid", "is_cancelled"),
        [
            ("open", {}, {}, False),
            ("fenced, money not back", {"fulfillments": CANCELLED}, {}, False),
            ("fenced, part back", {"fulfillments": CANCELLED}, {"refunded_money": eur(4249)}, False),
            ("fenced, all back", {"fulfillments": CANCELLED}, {"refunded_money": eur(4250)}, True),
            ("all back, not fenced", {}, {"refunded_money": eur(4250)}, False),
            ("fenced, still authorised", {"fulfillments": CANCELLED}, {"status": "APPROVED"}, False),
            ("fenced, released", {"fulfillments": CANCELLED}, {"status": "CANCELED"}, True),
            ("fenced, may yet be paid", {"fulfillments": CANCELLED}, {"status": "PENDING"}, False),
            ("cancelled", {"state": "CANCELED", "fulfillments": []}, {"status": "CANCELED"}, True),
            (
                "only noted, all back",
                {"fulfillments": [], "metadata": NOTED},
                {"refunded_money": eur(4250)},
                True,
            ),
            (
                "half fenced, all back",
                {"fulfillments": [*CANCELLED, fulfilment(uid="F2")]},
                {"refunded_money": eur(4250)},
                False,
            ),
        ],
    )
    def test_cancelled_is_our_own_rule(
        self, _case: str, more: dict[str, Any], paid: dict[str, Any], is_cancelled: bool
    ) -> None:
        api, _ = square(order_says(**more), payment_says(**paid))
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert (facts.cancelled_at is not None) is is_cancelled

    @pytest.mark.parametrize(
        ("_case", "paid", "gateway", "means"),
        [
            ("card", {}, "square", Tender.CARD),
            ("wallet", {"source_type": "WALLET"}, "square", Tender.CARD),
            (
                "gift card",
                {"card_details": {"card": {"card_brand": "SQUARE_GIFT_CARD"}}},
                "square_gift_card",
                Tender.GIFT_CARD,
            ),
            ("house account", {"source_type": "SQUARE_ACCOUNT"}, "square_account", Tender.STORE_CREDIT),
            ("cash", {"source_type": "CASH"}, "cash", Tender.CARD),
            (
                "another's gift card",
                {"source_type": "EXTERNAL", "external_details": {"type": "OTHER_GIFT_CARD", "source": "x"}},
                "external",
                Tender.GIFT_CARD,
            ),
            ("news to us", {"source_type": "SHELLS"}, "other", Tender.CARD),
        ],
    )
    def test_what_an_order_was_paid_with_is_told_apart(
        self, _case: str, paid: dict[str, Any], gateway: str, means: Tender
    ) -> None:
        api, _ = square(order_says(), payment_says(**paid))
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert [(p.gateway, p.tender) for p in facts.payments] == [(gateway, means)]

    def test_a_tender_that_no_payment_stands_behind_is_told_by_itself(self) -> None:
        tenders = [
            tender("", kind="SQUARE_GIFT_CARD", card_details={"status": "CAPTURED"}),
            tender("", kind="CARD", card_details={"status": "VOIDED"}),
            tender("", kind="NO_SALE", minor=0),
        ]
        api, _ = square(order_says(tenders=tenders, fulfillments=CANCELLED))
        facts = api.read_order(OrderRef("square", "O1"))
        assert isinstance(facts, OrderFacts)
        assert [(p.transaction_id, p.gateway, p.is_captured) for p in facts.payments] == [
            ("T1", "square_gift_card", True)
        ]
        assert facts.cancelled_at is None

    @pytest.mark.parametrize(
        ("_case", "said", "family"),
        [
            ("gone", error("NOT_FOUND", 404), NotFound),
            ("a page says 404", answer(404, "<html>not here</html>"), Unknown),
            ("another order", answer(200, {"order": order(id="O2")}), Unknown),
            ("no total", order_says(total_money=None), Unknown),
            ("a version that is a text", order_says(version="4"), Unknown),
            ("a line without a quantity", order_says(line_items=[line(quantity="two")]), Unknown),
            ("a fulfilment without a state", order_says(fulfillments=[{"uid": "F1"}]), Unknown),
            ("broken", error("INTERNAL_SERVER_ERROR", 500, category="API_ERROR"), Unknown),
        ],
    )
    def test_an_order_that_cannot_be_read_is_not_guessed(
        self, _case: str, said: Response, family: type
    ) -> None:
        assert isinstance(square(said)[0].read_order(OrderRef("square", "O1")), family)

    @pytest.mark.parametrize("order_id", ["", "../payments", "O1/x", "O1?x", "ö", "O 1", "x" * 256])
    def test_ids_that_are_none_are_never_put_into_a_path(self, order_id: str) -> None:
        api, http = square()
        assert code_of(api.cancel_order(replace(CANCEL, order_id=order_id))) == "unknown_reference"
        assert code_of(api.refund(replace(REFUND, payment_reference=order_id))) == "unknown_reference"
        assert code_of(api.void_payment(replace(VOID, payment_reference=order_id))) == "unknown_reference"
        assert isinstance(api.find_refund(replace(REFUND, payment_reference=order_id)), Unknown)
        assert isinstance(api.find_cancel_order(replace(CANCEL, order_id=order_id)), Unknown)
        assert http.requests == []

    def test_by_number_all_pages_are_searched_before_one_is_chosen(self) -> None:
        api, http = square(
            answer(200, {"orders": [order()], "cursor": "next"}),
            answer(200, {"orders": [order(id="O9", reference_id="10421")]}),
            order_says(tenders=[]),
            locations=("L1", "L2"),
        )
        assert isinstance(api.read_order(OrderRef("square", number="#1042")), OrderFacts)
        assert [r.json.get("cursor") for r in http.requests[:2]] == [None, "next"]
        assert http.requests[0].json["location_ids"] == ["L1", "L2"]

    def test_a_number_without_places_to_search_is_said_to_be_a_setting(self) -> None:
        api, _ = square(error("NOT_FOUND", 404))
        found = api.read_order(OrderRef("square", number="1042"))
        assert code_of(found) == "no_location"
        assert code_of(square()[0].read_order(OrderRef("square"))) == "no_reference"


class TestCancelling:
    def test_one_update_fences_notes_and_names_the_version(self) -> None:
        done = order_says(fulfillments=CANCELLED, metadata=NOTED, version=5)
        api, http = square(order_says(), payment_says(), done)
        assert isinstance(api.cancel_order(CANCEL), Done)
        sent = http.requests[-1]
        assert (sent.method, sent.path) == ("PUT", "/v2/orders/O1")
        assert sent.json == {
            "idempotency_key": f"{CANCEL.key}:fence:4",
            "order": {
                "location_id": "L1",
                "version": 4,
                "fulfillments": [{"uid": "F1", "state": "CANCELED"}],
                "metadata": NOTED,
            },
        }

    def test_an_unpaid_order_is_closed_in_the_same_update(self) -> None:
        done = order_says(fulfillments=CANCELLED, state="CANCELED", metadata=NOTED)
        api, http = square(order_says(tenders=[]), done)
        assert isinstance(api.cancel_order(CANCEL), Done)
        assert http.requests[-1].json["order"]["state"] == "CANCELED"

    @pytest.mark.parametrize("status", ["APPROVED", "PENDING", "COMPLETED"])
    def test_an_order_that_money_hangs_on_is_never_closed(self, status: str) -> None:
        api, http = square(order_says(), payment_says(status=status), always=error("INTERNAL", 500))
        api.cancel_order(CANCEL)
        assert "state" not in http.requests[-1].json["order"]

    @pytest.mark.parametrize("status", [400, 409, 412])
    def test_a_version_mismatch_is_decided_by_its_code(self, status: int) -> None:
        shipped = order_says(version=5, fulfillments=[fulfilment("COMPLETED")])
        api, http = square(
            order_says(), payment_says(), error("VERSION_MISMATCH", status), shipped, payment_says()
        )
        assert code_of(api.cancel_order(CANCEL)) == "fulfilled"
        assert http.is_drained

    def test_after_a_mismatch_the_new_version_has_a_key_of_its_own(self) -> None:
        done = order_says(fulfillments=CANCELLED, metadata=NOTED, version=6)
        api, http = square(
            order_says(),
            payment_says(),
            error("VERSION_MISMATCH"),
            order_says(version=5),
            payment_says(),
            done,
        )
        assert isinstance(api.cancel_order(CANCEL), Done)
        sent = [r.json for r in http.requests if r.method == "PUT"]
        assert [each["order"]["version"] for each in sent] == [4, 5]
        assert len({each["idempotency_key"] for each in sent}) == 2

    def test_a_state_that_is_refused_after_all_leaves_the_fence(self) -> None:
        done = order_says(fulfillments=CANCELLED, metadata=NOTED, tenders=[])
        api, http = square(
            order_says(tenders=[]), error("BAD_REQUEST", field="order.state"), order_says(tenders=[]), done
        )
        assert isinstance(api.cancel_order(CANCEL), Done)
        sent = [r.json for r in http.requests if r.method == "PUT"]
        assert ["state" in each["order"] for each in sent] == [True, False]
        assert sent[0]["idempotency_key"] != sent[1]["idempotency_key"]

    @pytest.mark.parametrize(
        ("_case", "said"),
        [
            ("names were passed over", order_says()),
            ("only the note", order_says(metadata=NOTED)),
            ("without our note", order_says(fulfillments=CANCELLED)),
            ("another order", answer(200, {"order": order(id="O2", fulfillments=CANCELLED)})),
            ("a server error", error("INTERNAL_SERVER_ERROR", 500, category="API_ERROR")),
            ("the key was used", error("IDEMPOTENCY_KEY_REUSED")),
            ("it is at work", error("CONFLICT", 409)),
        ],
    )
    def test_only_the_order_itself_says_that_it_is_done(self, _case: str, said: Response) -> None:
        api, _ = square(order_says(), payment_says(), said)
        assert isinstance(api.cancel_order(CANCEL), Unknown)

    def test_a_full_metadata_does_not_keep_the_fence_from_standing(self) -> None:
        full = {f"k{n}": "v" for n in range(10)} | {"square:own": "x"}
        api, http = square(
            order_says(metadata=full), payment_says(), order_says(fulfillments=CANCELLED, metadata=full)
        )
        assert isinstance(api.cancel_order(CANCEL), Done)
        assert "metadata" not in http.requests[-1].json["order"]
        only_notes = square(order_says(metadata=full, fulfillments=[]), payment_says())[0]
        assert code_of(only_notes.cancel_order(CANCEL)) == "no_room"

    def test_a_failed_fulfilment_is_ended_and_the_others_are_cancelled(self) -> None:
        both = [fulfilment("FAILED"), fulfilment(uid="F2")]
        done = order_says(fulfillments=[both[0], fulfilment("CANCELED", "F2")], metadata=NOTED, tenders=[])
        api, http = square(order_says(fulfillments=both, tenders=[]), done)
        assert isinstance(api.cancel_order(CANCEL), Done)
        assert http.requests[-1].json["order"]["fulfillments"] == [{"uid": "F2", "state": "CANCELED"}]
        assert "state" not in http.requests[-1].json["order"]

    @pytest.mark.parametrize(
        ("_case", "more", "family"),
        [
            ("untouched", {}, NotFound),
            ("fenced by us", {"fulfillments": CANCELLED, "metadata": NOTED}, Done),
            ("fenced by somebody", {"fulfillments": CANCELLED}, AlreadyDone),
            ("half fenced", {"fulfillments": [*CANCELLED, fulfilment(uid="F2")]}, NotFound),
            ("a new state", {"fulfillments": [fulfilment("DREAMING")]}, NotFound),
            ("closed", {"state": "CANCELED"}, AlreadyDone),
            ("closed by us", {"state": "CANCELED", "metadata": NOTED}, Done),
            ("only noted", {"fulfillments": [], "metadata": NOTED}, Done),
            ("shipped meanwhile", {"fulfillments": [fulfilment("COMPLETED")]}, Permanent),
        ],
    )
    def test_a_look_proves_it_by_the_order(self, _case: str, more: dict[str, Any], family: type) -> None:
        assert type(square(order_says(**more), payment_says())[0].find_cancel_order(CANCEL)) is family

    def test_a_look_at_nothing_proves_nothing(self) -> None:
        assert isinstance(square(error("NOT_FOUND", 404))[0].find_cancel_order(CANCEL), Unknown)
        assert isinstance(square(order_says(), error("NOT_FOUND", 404))[0].find_cancel_order(CANCEL), Unknown)

    def test_trouble_before_the_write_is_no_trouble_of_the_write(self) -> None:
        api, _ = square(MaybeSentError("read timeout"))
        assert code_of(api.cancel_order(CANCEL)) == "not_sent"
        api, _ = square(order_says(), payment_says(), MaybeSentError("read timeout"))
        with pytest.raises(MaybeSentError):
            api.cancel_order(CANCEL)
        api, _ = square(NotSentError("refused"))
        with pytest.raises(NotSentError):
            api.cancel_order(CANCEL)


class TestRefunding:
    def test_a_refund_looks_first_and_says_the_amount(self) -> None:
        api, http = square(payment_says(), refund_says(status="PENDING"))
        assert api.refund(REFUND) == Pending("R1")
        assert http.calls == ["GET /v2/payments/P1", "POST /v2/refunds"]
        assert http.requests[-1].json == {
            "idempotency_key": refund_key(REFUND.key),
            "payment_id": "P1",
            "amount_money": eur(4250),
            "reason": f"refundflow {REFUND.step_key}",
        }

    @pytest.mark.parametrize("key", ["k", REFUND.key, "refundflow:" + "ä" * 200 + ":1"])
    def test_a_key_has_at_most_45_bytes_and_is_always_the_same(self, key: str) -> None:
        assert len(refund_key(key).encode()) <= 45
        assert refund_key(key) == refund_key(key)
        assert refund_key(key) != refund_key(key + "2")

    def test_a_repeat_is_the_same_request_to_the_letter(self) -> None:
        assert refund_request(REFUND) == refund_request(replace(REFUND))

    def test_a_reason_fits_and_names_the_try(self) -> None:
        second = replace(REFUND, key=f"refundflow:{REFUND.step_key}:2")
        said = refund_request(second).json["reason"]
        assert len(said) <= 192
        assert read_reason(said) == (REFUND.step_key, 2)
        assert read_reason("changed her mind") == ("", 0)
        assert read_reason(f"x refundflow {REFUND.step_key}") == ("", 0)

    @pytest.mark.parametrize(
        ("_case", "said", "expected"),
        [
            ("done", refund_says(), Done("R1")),
            ("pending", refund_says(status="PENDING"), Pending("R1")),
            ("failed", refund_says(status="FAILED"), "refund_failed"),
            ("rejected", refund_says(status="REJECTED"), "refund_failed"),
            ("another amount", refund_says(amount_money=eur(4249)), "amount_mismatch"),
            (
                "another currency",
                refund_says(amount_money={"amount": 4250, "currency": "USD"}),
                "amount_mismatch",
            ),
            ("another payment", refund_says(payment_id="P2"), "amount_mismatch"),
            ("a new word", refund_says(status="DREAMING"), Unknown),
            ("no amount", refund_says(amount_money={"amount": True, "currency": "EUR"}), Unknown),
            (
                "failed beside an error",
                answer(400, {"errors": [{"code": "X"}], "refund": refund(status="FAILED")}),
                "refund_failed",
            ),
            (
                "an error beside a refund that lives",
                answer(200, {"errors": [{"code": "X"}], "refund": refund()}),
                Unknown,
            ),
            ("a refund with a 500", answer(500, {"refund": refund()}), Unknown),
            ("more than is left", error("REFUND_AMOUNT_INVALID"), Unknown),
            ("not refundable", error("PAYMENT_NOT_REFUNDABLE"), "PAYMENT_NOT_REFUNDABLE"),
            ("disputed", error("PAYMENT_NOT_REFUNDABLE_DUE_TO_DISPUTE"), "disputed"),
            ("declined", error("REFUND_DECLINED"), "REFUND_DECLINED"),
            ("another is pending", error("REFUND_ALREADY_PENDING"), "unavailable"),
            ("no payment", error("NOT_FOUND", 404), "NOT_FOUND"),
            (
                "no right to refund",
                error("INSUFFICIENT_PERMISSIONS_FOR_REFUND"),
                "INSUFFICIENT_PERMISSIONS_FOR_REFUND",
            ),
            ("the key was used", error("IDEMPOTENCY_KEY_REUSED"), Unknown),
            ("an error of theirs as a 400", error("TEMPORARY_ERROR", category="API_ERROR"), Unknown),
            ("a page", answer(400, "<html>"), Unknown),
        ],
    )
    def test_answers(self, _case: str, said: Response, expected: Any) -> None:
        outcome = square(payment_says(), said)[0].refund(REFUND)
        if isinstance(expected, str):
            assert code_of(outcome) == expected
        elif isinstance(expected, type):
            assert isinstance(outcome, expected)
        else:
            assert outcome == expected

    @pytest.mark.parametrize(
        ("_case", "refunds", "expected"),
        [
            ("none", [], NotFound),
            ("ours", [refund()], Done),
            ("ours, pending", [refund(status="PENDING")], Pending),
            ("ours, failed", [refund(status="FAILED")], "refund_failed"),
            ("ours, of another amount", [refund(amount_money=eur(100))], "amount_mismatch"),
            ("another's, all of it", [refund(reason="by hand")], "refunded_elsewhere"),
            ("another's, pending", [refund(reason="by hand", status="PENDING")], "refunded_elsewhere"),
            ("another's, failed", [refund(reason="by hand", status="FAILED")], NotFound),
            (
                "of another step, all of it",
                [refund(reason="refundflow RF-1.refund.2")],
                "refunded_elsewhere",
            ),
            ("ours that failed and ours that lives", [refund(status="FAILED"), refund(id="R2")], Done),
        ],
    )
    def test_a_look_finds_our_refund_and_others(
        self, _case: str, refunds: list[dict[str, Any]], expected: Any
    ) -> None:
        for number, each in enumerate(refunds):
            each["id"] = f"R{number + 1}"
        ids = [each["id"] for each in refunds]
        api, _ = square(
            payment_says(refund_ids=ids or None), *(answer(200, {"refund": each}) for each in refunds)
        )
        found = api.find_refund(REFUND)
        if isinstance(expected, str):
            assert code_of(found) == expected
        else:
            assert isinstance(found, expected), found

    def test_two_of_ours_are_told(self) -> None:
        api, _ = square(
            payment_says(total_money=eur(9000), refund_ids=["R1", "R2"]), refund_says(), refund_says(id="R2")
        )
        found = api.find_refund(REFUND)
        assert found == Done("R1", "also refunded by R2")

    def test_a_failed_refund_of_an_earlier_try_does_not_speak_for_this_one(self) -> None:
        again = replace(REFUND, key=f"refundflow:{REFUND.step_key}:2")
        api, _ = square(payment_says(refund_ids=["R1"]), refund_says(status="FAILED"))
        assert isinstance(api.find_refund(again), NotFound)
        api, http = square(payment_says(refund_ids=["R1"]), refund_says(status="FAILED"))
        assert code_of(api.refund(again)) == "not_repeatable"
        assert all(r.method == "GET" for r in http.requests)

    def test_money_that_went_back_by_no_refund_in_the_list_proves_nothing(self) -> None:
        api, _ = square(payment_says(total_money=eur(9000), refunded_money=eur(4250)))
        assert isinstance(api.find_refund(REFUND), Unknown)
        api, http = square(payment_says(total_money=eur(9000), refunded_money=eur(4250)))
        assert code_of(api.refund(REFUND)) == "unavailable"
        assert len(http.requests) == 1

    @pytest.mark.parametrize(
        "said", [error("NOT_FOUND", 404), refund_says(id="R9"), refund_says(payment_id="P2"), answer(200, {})]
    )
    def test_a_refund_that_cannot_be_read_might_be_ours(self, said: Response) -> None:
        assert isinstance(square(payment_says(refund_ids=["R1"]), said)[0].find_refund(REFUND), Unknown)

    def test_ids_of_refunds_are_not_trusted_in_a_path_and_not_without_number(self) -> None:
        assert isinstance(square(payment_says(refund_ids=["../x"]))[0].find_refund(REFUND), Unknown)
        many = [f"R{n}" for n in range(31)]
        assert isinstance(square(payment_says(refund_ids=many))[0].find_refund(REFUND), Unknown)

    @pytest.mark.parametrize("source", ["CASH", "EXTERNAL"])
    def test_money_that_square_only_writes_down_is_not_called_given_back(self, source: str) -> None:
        api, http = square(payment_says(source_type=source))
        assert code_of(api.refund(REFUND)) == "not_through_square"
        assert len(http.requests) == 1


class TestReadingPayments:
    @pytest.mark.parametrize(
        ("status", "state", "authorised", "captured"),
        [
            ("COMPLETED", PaymentState.CAPTURED, 0, 4250),
            ("APPROVED", PaymentState.AUTHORISED, 4250, 0),
            ("CANCELED", PaymentState.VOIDED, 0, 0),
            ("FAILED", PaymentState.NOT_PAID, 0, 0),
        ],
    )
    def test_states(self, status: str, state: PaymentState, authorised: int, captured: int) -> None:
        facts = square(payment_says(status=status), answer(200, {}))[0].read_payment("", "P1")
        assert isinstance(facts, PaymentFacts)
        assert (facts.state, facts.authorised.minor, facts.captured.minor) == (state, authorised, captured)
        assert facts.refundable_until == datetime(2026, 11, 20, 9, 0, tzinfo=UTC) + timedelta(days=365)
        assert facts.order_number == "O1"

    def test_one_that_may_yet_be_captured_is_neither_paid_nor_unpaid(self) -> None:
        assert code_of(square(payment_says(status="PENDING"))[0].read_payment("", "P1")) == "unavailable"
        assert isinstance(square(payment_says(status="DREAMING"))[0].read_payment("", "P1"), Unknown)

    def test_refunds_are_told_with_our_step_and_what_is_not_listed(self) -> None:
        api, _ = square(
            payment_says(refund_ids=["R1", "R2"], refunded_money=eur(4000)),
            refund_says(amount_money=eur(1000)),
            refund_says(id="R2", amount_money=eur(500), reason=None, status="DREAMING"),
            answer(200, {}),
        )
        facts = api.read_payment("", "P1")
        assert isinstance(facts, PaymentFacts)
        assert facts.refunds == (
            RefundFact("R1", Money(1000, "EUR"), RefundStatus.SUCCEEDED, REFUND.step_key),
            RefundFact("R2", Money(500, "EUR"), RefundStatus.PENDING),
            RefundFact("P1:unlisted", Money(2500, "EUR"), RefundStatus.SUCCEEDED),
        )

    def test_the_gravest_dispute_of_the_payment_speaks(self) -> None:
        def dispute(id: str, state: str, of: str = "P1") -> dict[str, Any]:
            return {"id": id, "state": state, "disputed_payment": {"payment_id": of}}

        api, http = square(
            payment_says(),
            answer(200, {"disputes": [dispute("D1", "WON"), dispute("D2", "LOST", "P2")], "cursor": "c"}),
            answer(200, {"disputes": [dispute("D3", "PROCESSING"), dispute("D4", "INQUIRY_PROCESSING")]}),
        )
        facts = api.read_payment("", "P1")
        assert isinstance(facts, PaymentFacts)
        assert (facts.dispute, facts.dispute_reference) == (DisputeState.OPEN, "D3")
        assert ("cursor", "c") in http.requests[-1].params

    @pytest.mark.parametrize(
        "said",
        [
            answer(200, {"disputes": [{"id": "D1"}]}),
            answer(200, {"disputes": "x"}),
            answer(200, {"strange": 1}),
            answer(500, ""),
        ],
    )
    def test_disputes_that_cannot_be_read_are_not_absent(self, said: Response) -> None:
        assert isinstance(square(payment_says(), said)[0].read_payment("", "P1"), Unknown)

    @pytest.mark.parametrize(
        ("word", "state"),
        [
            ("EVIDENCE_REQUIRED", DisputeState.OPEN),
            ("PROCESSING", DisputeState.OPEN),
            ("WON", DisputeState.WON),
            ("LOST", DisputeState.LOST),
            ("ACCEPTED", DisputeState.LOST),
            ("INQUIRY_EVIDENCE_REQUIRED", DisputeState.WARNING),
            ("INQUIRY_PROCESSING", DisputeState.WARNING),
            ("INQUIRY_CLOSED", DisputeState.NONE),
            ("SOMETHING_NEW", DisputeState.OPEN),
        ],
    )
    def test_states_of_disputes(self, word: str, state: DisputeState) -> None:
        assert dispute_state(word) is state


class TestReleasing:
    @pytest.mark.parametrize(
        ("_case", "said", "expected"),
        [
            ("released", payment_says(status="CANCELED"), Done("P1")),
            ("another amount", payment_says(status="CANCELED", total_money=eur(1)), "amount_mismatch"),
            ("still approved", payment_says(status="APPROVED"), Unknown),
            ("refused in words", error("BAD_REQUEST"), Unknown),
            ("it was cancelled before", error("DELAYED_TRANSACTION_CANCELED"), Unknown),
            ("it was captured", error("DELAYED_TRANSACTION_CAPTURED"), Unknown),
            ("no such payment", error("NOT_FOUND", 404), "NOT_FOUND"),
        ],
    )
    def test_answers(self, _case: str, said: Response, expected: Any) -> None:
        outcome = square(said)[0].void_payment(VOID)
        if isinstance(expected, str):
            assert code_of(outcome) == expected
        elif isinstance(expected, type):
            assert isinstance(outcome, expected)
        else:
            assert outcome == expected

    @pytest.mark.parametrize(
        ("status", "family"),
        [
            ("CANCELED", Done),
            ("COMPLETED", Permanent),
            ("FAILED", AlreadyDone),
            ("APPROVED", NotFound),
            ("PENDING", Unknown),
        ],
    )
    def test_a_look_tells_by_the_payment(self, status: str, family: type) -> None:
        assert isinstance(square(payment_says(status=status))[0].find_void_payment(VOID), family)


def moved(article: str = "V-LI1", quantity: str = "2", **more: Any) -> dict[str, Any]:
    adjustment = {
        "id": "A1",
        "reference_id": RESTOCK.step_key,
        "catalog_object_id": article,
        "from_state": "UNLINKED_RETURN",
        "to_state": "IN_STOCK",
        "quantity": quantity,
        **more,
    }
    return {"type": "ADJUSTMENT", "adjustment": adjustment}


class TestRestocking:
    def test_units_are_looked_up_and_put_back_with_our_reference(self) -> None:
        api, http = square(
            order_says(), payment_says(), answer(200, {}), answer(200, {"changes": [moved()], "counts": []})
        )
        assert isinstance(api.restock(RESTOCK), Done)
        look, sent = http.requests[-2:]
        assert look.path == "/v2/inventory/changes/batch-retrieve"
        assert (look.json["catalog_object_ids"], look.json["location_ids"]) == (["V-LI1"], ["L1"])
        (change,) = sent.json["changes"]
        assert change["adjustment"] == {
            "reference_id": RESTOCK.step_key,
            "catalog_object_id": "V-LI1",
            "location_id": "L1",
            "from_state": "UNLINKED_RETURN",
            "to_state": "IN_STOCK",
            "quantity": "2",
            "occurred_at": "2026-11-25T11:59:55Z",
        }

    @pytest.mark.parametrize(
        ("_case", "changes", "expected"),
        [
            ("ours", [moved()], Done),
            ("ours, another number", [moved(quantity="1")], "restock_mismatch"),
            ("ours twice", [moved(), moved(id="A2")], "restock_mismatch"),
            ("another step's", [moved(reference_id="RF-1.restock.1")], NotFound),
            ("a sale under our reference", [moved(to_state="SOLD", from_state="IN_STOCK")], NotFound),
            ("a count", [{"type": "PHYSICAL_COUNT", "physical_count": {}}], NotFound),
            ("by Square's refund", [moved(reference_id=None, refund_id="R1")], AlreadyDone),
            ("by the refund of another order", [moved(reference_id=None, refund_id="R7")], NotFound),
            (
                "by Square's refund, in part",
                [moved("V-LI1", "1", reference_id="", refund_id="R1")],
                Permanent,
            ),
            ("by both", [moved(), moved(reference_id="", refund_id="R1", id="A2")], "done_twice"),
            ("unreadable", [{"type": "ADJUSTMENT", "adjustment": {"to_state": "IN_STOCK"}}], Unknown),
        ],
    )
    def test_a_look_goes_by_our_reference(self, _case: str, changes: list[Any], expected: Any) -> None:
        api, _ = square(order_says(), payment_says(refund_ids=["R1"]), answer(200, {"changes": changes}))
        found = api.find_restock(RESTOCK)
        if isinstance(expected, str):
            assert code_of(found) == expected
        else:
            assert isinstance(found, expected), found

    def test_pages_are_read_to_the_end(self) -> None:
        api, http = square(
            order_says(),
            payment_says(),
            answer(200, {"changes": [moved(reference_id="x")], "cursor": "c"}),
            answer(200, {"changes": [moved()]}),
        )
        assert isinstance(api.find_restock(RESTOCK), Done)
        assert http.requests[-1].json["cursor"] == "c"

    def test_a_list_without_an_end_is_unknown(self) -> None:
        page = answer(200, {"changes": [], "cursor": "c"})
        api, http = square(order_says(), payment_says(), always=page)
        assert isinstance(api.find_restock(RESTOCK), Unknown)
        assert len(http.requests) == 22

    @pytest.mark.parametrize(
        ("_case", "said", "expected"),
        [
            ("nothing of ours shown", answer(200, {"changes": []}), Unknown),
            ("only counts", answer(200, {"counts": []}), Unknown),
            ("fewer than asked", answer(200, {"changes": [moved(quantity="1")]}), "restock_mismatch"),
            ("a transition that is not allowed", error("INVALID_VALUE"), "INVALID_VALUE"),
            ("the key was used", error("IDEMPOTENCY_KEY_REUSED"), Unknown),
            ("a server error", answer(500, ""), Unknown),
        ],
    )
    def test_answers(self, _case: str, said: Response, expected: Any) -> None:
        outcome = square(order_says(), payment_says(), answer(200, {}), said)[0].restock(RESTOCK)
        if isinstance(expected, str):
            assert code_of(outcome) == expected
        else:
            assert isinstance(outcome, expected)

    def test_what_is_measured_goes_back_as_measured(self) -> None:
        measured = [line(quantity="2.25")]
        api, http = square(order_says(line_items=measured), payment_says(), answer(200, {}), answer(500, ""))
        api.restock(replace(RESTOCK, lines=(LineQuantity("LI1", 1),)))
        assert http.requests[-1].json["changes"][0]["adjustment"]["quantity"] == "2.25"

    def test_lines_of_one_article_are_one_movement(self) -> None:
        two = [line(), line("LI2", catalog_object_id="V-LI1")]
        api, http = square(order_says(line_items=two), payment_says(), answer(200, {}), answer(500, ""))
        api.restock(replace(RESTOCK, lines=(LineQuantity("LI1", 2), LineQuantity("LI2", 1))))
        assert [c["adjustment"]["quantity"] for c in http.requests[-1].json["changes"]] == ["3"]

    @pytest.mark.parametrize("status", ["APPROVED", "CANCELED"])
    def test_units_that_were_never_sold_are_not_put_back(self, status: str) -> None:
        api, http = square(order_says(), payment_says(status=status), answer(200, {}))
        assert code_of(api.restock(RESTOCK)) == "never_sold"
        assert http.is_drained

    def test_the_look_begins_with_the_case(self) -> None:
        command = replace(RESTOCK, step_key=StepKey("no case of ours"))
        api, http = square(order_says(), payment_says(), answer(200, {}))
        assert isinstance(api.find_restock(command), NotFound)
        assert "updated_after" not in http.requests[-1].json
        api, http = square(order_says(), payment_says(), answer(200, {}))
        api.find_restock(RESTOCK)
        assert http.requests[-1].json["updated_after"].endswith("Z")


class TestFailures:
    @pytest.mark.parametrize(
        ("_case", "said", "family", "code"),
        [
            ("bad token", error("UNAUTHORIZED", 401), Retryable, "unauthorised"),
            ("expired", error("ACCESS_TOKEN_EXPIRED", 401), Retryable, "unauthorised"),
            ("no permission", error("INSUFFICIENT_SCOPES", 403), Retryable, "unauthorised"),
            ("too often", error("RATE_LIMITED", 429), Retryable, "throttled"),
            ("a plain no", error("BAD_REQUEST"), Permanent, "BAD_REQUEST"),
            ("version", error("VERSION_MISMATCH", 409), Retryable, "unavailable"),
        ],
    )
    def test_an_explicit_no_is_told_from_not_now(
        self, _case: str, said: Response, family: type, code: str
    ) -> None:
        failure = read_failure(said)
        assert isinstance(failure, family)
        assert code_of(failure) == code

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 302, 200])
    def test_what_is_neither_is_unknown(self, status: int) -> None:
        assert isinstance(read_failure(error("SERVICE_UNAVAILABLE", status)), Unknown)

    def test_the_vendors_hint_is_kept(self) -> None:
        said = read_failure(answer(429, "", {"Retry-After": "7"}))
        assert said == Retryable("throttled", "Square is asked too often", 7.0)

    def test_every_refusal_in_the_table_is_read(self) -> None:
        for code in REFUSALS:
            assert not isinstance(read_failure(error(code)), Permanent) or "DISPUTE" in code


class TestHealth:
    @pytest.mark.parametrize(
        ("_case", "said", "is_ok"),
        [
            ("refunds", answer(200, {"refunds": [refund()]}), True),
            ("none yet", answer(200, {}, {"Square-Version": "2026-08-19"}), True),
            ("an empty object of somebody else", answer(200, {}), False),
            ("a refused token", error("UNAUTHORIZED", 401), False),
        ],
    )
    def test_a_sign_of_life(self, _case: str, said: Response, is_ok: bool) -> None:
        assert square(said)[0].check().is_ok is is_ok


def test_the_wire_is_made_with_the_token_and_the_pinned_version() -> None:
    wire = FakeWire()
    made = build(Credentials(access_token=Secret("EAAA"), location_ids=" L1, L2,"), wire)
    assert wire.made[0]["headers"] == {
        "Authorization": "Bearer EAAA",
        "Square-Version": SPEC.api_version,
    }
    assert made.locations == ("L1", "L2")
    assert "EAAA" not in repr(Credentials(access_token=Secret("EAAA")))


def test_customers_and_cards_are_masked() -> None:
    kept = json.dumps(
        Redaction(SPEC.redact).json(
            {
                "payment": payment(
                    buyer_email_address="ada@shop.example",
                    card_details={"card": {"last_4": "5858", "cardholder_name": "Ada"}},
                    shipping_address={"address_line_1": "Main Street 1"},
                    note="call Ada",
                    receipt_url="https://squareup.com/receipt/preview/x",
                    version_token="tok-1",
                ),
                "order": order(
                    fulfillments=[
                        fulfilment(
                            shipment_details={
                                "recipient": {"display_name": "Ada", "phone_number": "+49170"},
                                "shipping_note": "ring Ada",
                            }
                        )
                    ]
                ),
            }
        )
    )
    for word in ("Ada", "ada@", "5858", "Main Street", "+49170", "receipt/preview", "tok-1"):
        assert word not in kept
    assert "P1" in kept


URL = "https://shop.example/hooks/square"
KEY = "signature-key"


def signed(body: bytes, key: str = KEY, url: str = URL) -> Delivery:
    digest = hmac.new(key.encode(), url.encode() + body, hashlib.sha256).digest()
    return Delivery({"x-square-hmacsha256-signature": base64.b64encode(digest).decode()}, body)


def event(topic: str, name: str, value: Any) -> bytes:
    told = {"event_id": "e1", "type": topic, "data": {"type": name, "id": "x", "object": {name: value}}}
    return json.dumps(told).encode()


class TestEvents:
    INBOUND = SquareInbound(Secret(KEY), URL)

    def test_a_delivery_is_verified_over_the_address_and_the_raw_body(self) -> None:
        body = event("refund.updated", "refund", refund())
        assert self.INBOUND.verify(signed(body), NOW) == Verified("e1", "refund.updated")
        spaced = body.replace(b": ", b":")
        assert isinstance(self.INBOUND.verify(Delivery(signed(body).headers, spaced), NOW), Refused)

    @pytest.mark.parametrize(
        ("_case", "delivery"),
        [
            ("unsigned", Delivery({}, b"{}")),
            ("by another key", signed(b'{"event_id":"e","type":"t"}', "another")),
            ("for another address", signed(b'{"event_id":"e","type":"t"}', url=URL + "/")),
            ("no event", signed(b"[]")),
            ("no id", signed(b'{"type": "refund.updated"}')),
            (
                "the body alone is signed",
                Delivery(
                    {
                        "x-square-hmacsha256-signature": base64.b64encode(
                            hmac.new(KEY.encode(), b"{}", hashlib.sha256).digest()
                        ).decode()
                    },
                    b"{}",
                ),
            ),
            (
                "in hexadecimal",
                Delivery(
                    {
                        "x-square-hmacsha256-signature": hmac.new(
                            KEY.encode(), URL.encode() + b"{}", hashlib.sha256
                        ).hexdigest()
                    },
                    b"{}",
                ),
            ),
            (
                "the body before the address",
                Delivery(
                    {
                        "x-square-hmacsha256-signature": base64.b64encode(
                            hmac.new(KEY.encode(), b"{}" + URL.encode(), hashlib.sha256).digest()
                        ).decode()
                    },
                    b"{}",
                ),
            ),
            (
                "in the header of an older scheme",
                Delivery(
                    {
                        "x-square-signature": signed(b'{"event_id":"e","type":"t"}').headers[
                            "x-square-hmacsha256-signature"
                        ]
                    },
                    b'{"event_id":"e","type":"t"}',
                ),
            ),
        ],
    )
    def test_others_are_refused(self, _case: str, delivery: Delivery) -> None:
        assert isinstance(self.INBOUND.verify(delivery, NOW), Refused)

    def test_two_keys_hold_while_one_is_replaced(self) -> None:
        inbound = SquareInbound(Secret(f"old-key, {KEY}"), URL)
        body = event("order.updated", "order_updated", {"order_id": "O1", "state": "OPEN"})
        for key in ("old-key", KEY):
            assert isinstance(inbound.verify(signed(body, key), NOW), Verified)
        assert isinstance(inbound.verify(signed(body, f"old-key, {KEY}"), NOW), Refused)

    @pytest.mark.parametrize(
        ("topic", "name", "value", "expected"),
        [
            (
                "order.updated",
                "order_updated",
                {"order_id": "O1", "state": "CANCELED", "version": 5},
                OrderCancelledElsewhere(OrderRef("square", "O1")),
            ),
            ("order.updated", "order_updated", {"order_id": "O1", "state": "OPEN"}, Irrelevant),
            ("order.fulfillment.updated", "order_fulfillment_updated", {"order_id": "O1"}, Irrelevant),
            (
                "refund.updated",
                "refund",
                refund(order_id="O-return"),
                RefundSeen(
                    "square",
                    "P1",
                    "R1",
                    RefundStatus.SUCCEEDED,
                    Money(4250, "EUR"),
                    REFUND.step_key,
                ),
            ),
            (
                "refund.updated",
                "refund",
                refund(status="REJECTED", reason="by hand"),
                RefundSeen("square", "P1", "R1", RefundStatus.FAILED, Money(4250, "EUR"), why="REJECTED"),
            ),
            (
                "refund.created",
                "refund",
                refund(status="DREAMING"),
                PaymentRefundsChanged("square", "P1"),
            ),
            ("refund.created", "refund", refund(payment_id=None), Irrelevant),
            (
                "payment.updated",
                "payment",
                payment(refund_ids=["R1"]),
                PaymentRefundsChanged("square", "P1", OrderRef("square", "O1")),
            ),
            ("payment.updated", "payment", payment(), Irrelevant),
            (
                "dispute.created",
                "dispute",
                {
                    "id": "D1",
                    "state": "EVIDENCE_REQUIRED",
                    "reason": "NOT_RECEIVED",
                    "amount_money": eur(4250),
                    "disputed_payment": {"payment_id": "P1"},
                },
                DisputeSeen("square", "P1", "D1", DisputeState.OPEN, Money(4250, "EUR"), "NOT_RECEIVED"),
            ),
            (
                "dispute.state.updated",
                "dispute",
                {"id": "D1", "state": "WON", "disputed_payment": {"payment_id": "P1"}},
                DisputeSeen("square", "P1", "D1", DisputeState.WON),
            ),
            ("invoice.created", "invoice", {}, Irrelevant),
        ],
    )
    def test_what_events_say(self, topic: str, name: str, value: Any, expected: Any) -> None:
        reading = self.INBOUND.read_event(topic, event(topic, name, value))
        assert isinstance(reading, expected) if isinstance(expected, type) else reading == expected

    @pytest.mark.parametrize(
        ("topic", "name", "value", "field"),
        [
            ("order.updated", "order_updated", {"state": "CANCELED"}, "data.object.order_updated.order_id"),
            ("order.updated", "order", {}, "data.object.order_updated"),
            ("refund.updated", "refund", {"payment_id": "P1"}, "data.object.refund.id"),
            ("payment.updated", "payment", {"refund_ids": ["R1"]}, "data.object.payment.id"),
            (
                "dispute.created",
                "dispute",
                {"id": "D1", "state": "WON"},
                "data.object.dispute.disputed_payment.payment_id",
            ),
            (
                "dispute.created",
                "dispute",
                {"id": "D1", "disputed_payment": {"payment_id": "P1"}},
                "data.object.dispute.state",
            ),
        ],
    )
    def test_what_is_missing_is_named(self, topic: str, name: str, value: Any, field: str) -> None:
        with pytest.raises(MalformedError) as raised:
            self.INBOUND.read_event(topic, event(topic, name, value))
        assert raised.value.field == field
