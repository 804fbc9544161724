"""Etsy's answers → facts, its traps, its cursor, its events. No sockets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refundflow.connectors.base import EFFECTS, Capability, Idempotency, Polled
from refundflow.connectors.etsy import (
    REFUSALS,
    SHOP_MANAGER,
    SPEC,
    Credentials,
    Cursor,
    Etsy,
    EtsyInbound,
    Stretch,
    Turn,
    build,
    is_id,
    read_cursor,
    refund_status,
    signing_keys,
    write_cursor,
)
from refundflow.domain.facts import (
    LineQuantity,
    OrderFacts,
    OrderRef,
    PaymentFacts,
    PaymentState,
    RefundFact,
    RefundStatus,
    TakesBack,
)
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
    Verified,
)
from refundflow.domain.money import Money
from refundflow.domain.outcomes import NotFound, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Request, Response
from refundflow.transport.redact import Redaction
from tests.support.commands import ORDER
from tests.support.fake_http import FakeHttp, FakeWire, answer

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
DAY = 86_400
SHOP = "12345678"
RECEIPTS = f"/v3/application/shops/{SHOP}/receipts"
LEDGER = f"/v3/application/shops/{SHOP}/payment-account/ledger-entries"
PAYMENTS = f"/v3/application/shops/{SHOP}/payments"
SECRET = "whsec_ZXRzeS1lbmRwb2ludC1zZWNyZXQtMjRi"
CREDENTIALS = Credentials(
    keystring="practicekeystring",
    shared_secret=Secret("practice-shared"),
    refresh_token=Secret("1.practice-refresh"),
    shop_id=SHOP,
    webhook_secret=Secret(SECRET),
)


def eur(minor: int, divisor: int = 100) -> dict[str, Any]:
    return {"amount": minor, "divisor": divisor, "currency_code": "EUR"}


def line(line_id: int = 11, quantity: int = 2, price: int = 1500, **more: Any) -> dict[str, Any]:
    return {
        "transaction_id": line_id,
        "listing_id": 77,
        "product_id": 88,
        "sku": "MUG",
        "title": "Mug",
        "quantity": quantity,
        "price": eur(price),
        "shipped_timestamp": None,
        **more,
    }


def receipt(**more: Any) -> dict[str, Any]:
    return {
        "receipt_id": 2001,
        "status": "paid",
        "is_paid": True,
        "is_shipped": False,
        "created_timestamp": NOW_S - 2 * DAY,
        "updated_timestamp": NOW_S - DAY,
        "grandtotal": eur(3500),
        "total_shipping_cost": eur(500),
        "total_tax_cost": eur(0),
        "discount_amt": eur(0),
        "gift_wrap_price": eur(0),
        "payment_method": "cc",
        "name": "Ada Lovelace",
        "buyer_email": None,
        "transactions": [line()],
        "refunds": [],
        **more,
    }


def adjustment(minor: int = 3500, status: str = "REFUNDED", **more: Any) -> dict[str, Any]:
    return {
        "payment_adjustment_id": 91,
        "payment_id": 501,
        "status": status,
        "is_success": True,
        "total_adjustment_amount": minor,
        "payment_adjustment_items": [],
        **more,
    }


def payment(*adjustments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "payment_id": 501,
        "receipt_id": 2001,
        "amount_gross": eur(3500),
        "adjusted_gross": None,
        "currency": "EUR",
        "status": "settled",
        "payment_adjustments": list(adjustments),
        **more,
    }


def rows(*found: Any) -> Response:
    return answer(200, {"count": len(found), "results": list(found)})


def etsy(*answers: Response, now: datetime = NOW) -> tuple[Etsy, FakeHttp]:
    http = FakeHttp(*answers)
    return Etsy(http, SHOP, lambda: now), http


def order(shown: dict[str, Any] | None = None, *payments: dict[str, Any]) -> OrderFacts:
    shop, _ = etsy(answer(200, receipt() if shown is None else shown), rows(*payments))
    found = shop.read_order(OrderRef("etsy", "2001"))
    assert isinstance(found, OrderFacts), found
    return found


def read_payment(paid: dict[str, Any], shown: dict[str, Any] | None = None) -> Any:
    shop, _ = etsy(rows(paid), answer(200, receipt() if shown is None else shown))
    return shop.read_payment("2001", "501")


def facts(paid: dict[str, Any], shown: dict[str, Any] | None = None) -> PaymentFacts:
    found = read_payment(paid, shown)
    assert isinstance(found, PaymentFacts), found
    return found


# ---------------------------------------------------------------- declaration and set-up


def test_it_only_reads() -> None:
    assert not EFFECTS & set(SPEC.operations)
    assert all(each.idempotency is Idempotency.READ for each in SPEC.operations.values())
    assert {Capability.POLL, Capability.INBOUND, Capability.READ_PAYMENT} <= set(SPEC.operations)


def test_every_call_carries_key_and_secret_and_the_refresh_the_key_alone() -> None:
    wire = FakeWire()
    build(CREDENTIALS, wire)
    assert [made["base_url"] for made in wire.made] == [
        "https://openapi.etsy.com/v3/public/oauth/token",
        "https://openapi.etsy.com",
    ]
    assert all(made["headers"] == {"x-api-key": "practicekeystring:practice-shared"} for made in wire.made)
    [refresh] = wire.token_requests
    assert (refresh.method, refresh.path) == ("POST", "https://openapi.etsy.com/v3/public/oauth/token")
    assert dict(refresh.form or ()) == {
        "grant_type": "refresh_token",
        "client_id": "practicekeystring",
        "refresh_token": "1.practice-refresh",
    }


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"shop_id": "my-shop"}, "shop_id"),
        ({"shop_id": "0"}, "shop_id"),
        ({"shop_id": "١٢"}, "shop_id"),
        ({"keystring": "key:secret"}, "keystring"),
        ({"keystring": "key\n"}, "keystring"),
        ({"webhook_secret": Secret("whsec_not base64")}, "webhook_secret"),
        ({"webhook_secret": Secret("whsec_")}, "webhook_secret"),
        ({"webhook_secret": Secret(f"{SECRET}, no-pe")}, "webhook_secret"),
    ],
)
def test_credentials_of_the_wrong_form_are_told_at_start(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word) as told:
        replace(CREDENTIALS, **changes)
    assert SECRET not in str(told.value)


def test_no_secret_is_shown_and_nobodys_words_are_kept() -> None:
    assert "practice-shared" not in repr(CREDENTIALS)
    assert "practice-refresh" not in repr(CREDENTIALS)
    kept = json.dumps(
        Redaction(SPEC.redact).json(
            receipt(
                buyer_email="ada@shop.example",
                first_line="Main Street 1",
                second_line="Flat 2",
                city="Springfield",
                state="Oregon",
                zip="97477",
                formatted_address="Ada, Main Street 1",
                message_from_buyer="it is for my daughter",
                message_from_seller="dear Ada",
                gift_message="love, Byron",
                gift_sender="Byron",
                refunds=[{"note_from_issuer": "Ada is ill"}],
                transactions=[line(variations=[{"formatted_value": "engrave: Ada"}])],
            )
        )
    )
    for word in ("Ada", "Main Street", "Springfield", "Oregon", "97477", "daughter", "Byron", "engrave"):
        assert word not in kept, word
    assert '"paid"' in kept


# ---------------------------------------------------------------- orders


def test_an_order_is_read_by_two_calls() -> None:
    shop, http = etsy(answer(200, receipt()), rows(payment()))
    found = shop.read_order(OrderRef("etsy", number="#2001"))
    assert http.calls == [f"GET {RECEIPTS}/2001", f"GET {RECEIPTS}/2001/payments"]
    assert isinstance(found, OrderFacts)
    assert (found.order_id, found.number, found.total) == ("2001", "2001", Money(3500, "EUR"))
    assert (found.cancels, found.cancels_lines, found.cancel_refusal) == (
        TakesBack.PERSON,
        TakesBack.PERSON,
        "",
    )
    assert not found.records_refunds
    assert found.cancelled_at is None
    assert found.email == ""
    [paid] = found.payments
    assert (paid.transaction_id, paid.provider_reference, paid.gateway) == ("501", "501", "etsy")
    assert (paid.amount, paid.is_captured) == (Money(3500, "EUR"), True)


@pytest.mark.parametrize("number", ["", "0", "01", "-1", "1/2", "1?legacy=true", "٣", "9" * 20, "abc"])
def test_what_is_no_number_is_never_asked_for(number: str) -> None:
    shop, http = etsy()
    assert isinstance(shop.read_order(OrderRef("etsy", number=number)), NotFound)
    assert isinstance(shop.read_payment("2001", number), NotFound)
    assert http.requests == []
    assert not is_id(number)


@pytest.mark.parametrize(
    ("status", "is_cancelled"),
    [
        ("paid", False),
        ("completed", False),
        ("open", False),
        ("payment processing", False),
        ("partially refunded", False),
        ("Partially Refunded", False),
        ("canceled", True),
        ("Canceled", True),
        ("Fully Refunded", True),
        ("fully refunded", True),
        ("something new", False),
    ],
)
def test_the_status_tells_a_cancel_whatever_its_capitals(status: str, is_cancelled: bool) -> None:
    found = order(receipt(status=status), payment())
    assert (found.cancelled_at is not None) is is_cancelled
    assert found.unfulfilled == (() if is_cancelled else (LineQuantity("11", 2),))
    assert found.cancelled_at in (None, NOW - timedelta(days=1))


def test_times_are_read_under_their_old_names_too() -> None:
    shown = receipt(create_timestamp=NOW_S - 5, update_timestamp=NOW_S - 3)
    del shown["created_timestamp"], shown["updated_timestamp"]
    found = order({**shown, "status": "canceled"})
    assert found.created_at == NOW - timedelta(seconds=5)
    assert found.cancelled_at == NOW - timedelta(seconds=3)


@pytest.mark.parametrize(
    ("sku", "expected"), [("MUG", "MUG"), (" MUG ", "MUG"), (None, "77-88"), ("", "77-88")]
)
def test_a_line_without_sku_is_named_by_listing_and_product(sku: str | None, expected: str) -> None:
    assert order(receipt(transactions=[line(sku=sku)])).lines[0].sku == expected


def test_a_line_that_left_alone_is_fulfilled_alone() -> None:
    found = order(receipt(transactions=[line(), line(12, 1, 500, shipped_timestamp=NOW_S)]))
    assert [x.unfulfilled for x in found.lines] == [2, 0]
    assert found.is_partly_fulfilled


@pytest.mark.parametrize(
    ("_case", "items", "refundable"),
    [
        ("a part of its price", [{"transaction_id": 11, "amount": 1500}], 2),
        ("its whole price", [{"transaction_id": 11, "amount": 3000}], 0),
        ("in two parts", [{"transaction_id": 11, "amount": 1500}, {"transaction_id": 11, "amount": 1500}], 0),
        ("shipping", [{"transaction_id": None, "amount": 3000}], 2),
        ("unreadable", 7, 2),
    ],
)
def test_a_line_is_gone_when_its_whole_price_went_back(_case: str, items: Any, refundable: int) -> None:
    found = order(receipt(), payment(adjustment(3000, payment_adjustment_items=items)))
    assert found.lines[0].refundable == refundable


def test_a_failed_refund_takes_no_line_away() -> None:
    items = [{"transaction_id": 11, "amount": 3000}]
    failed = adjustment(3000, "REFUND_FAILED", is_success=False, payment_adjustment_items=items)
    assert order(receipt(), payment(failed)).lines[0].refundable == 2


def test_what_was_paid_past_etsy_is_a_persons_business_under_a_name_of_its_own() -> None:
    [paid] = order(receipt(payment_method="check")).payments
    assert (paid.gateway, paid.transaction_id, paid.provider_reference, paid.amount) == (
        "etsy:check",
        "2001",
        "",
        Money(3500, "EUR"),
    )
    assert order(receipt(is_paid=False, status="payment processing")).payments == ()
    assert order(receipt(grandtotal=eur(0))).payments == ()


def test_an_order_without_payments_is_an_order() -> None:
    shop, _ = etsy(answer(200, receipt(is_paid=False)), answer(404, {"error": "Resource not found"}))
    found = shop.read_order(OrderRef("etsy", "2001"))
    assert isinstance(found, OrderFacts)
    assert found.payments == ()


@pytest.mark.parametrize(
    "broken",
    [
        {"receipt_id": 2002},
        {"receipt_id": "2001"},
        {"status": None},
        {"grandtotal": {"amount": 3500, "divisor": 0, "currency_code": "EUR"}},
        {"grandtotal": {"amount": 35001, "divisor": 1000, "currency_code": "EUR"}},
        {"grandtotal": {"amount": 3500, "divisor": 100, "currency_code": "eur"}},
        {"grandtotal": 3500},
        {"is_paid": None},
        {"created_timestamp": "yesterday"},
        {"created_timestamp": 10**18},
        {"transactions": None},
        {"transactions": [None]},
        {"transactions": [line(quantity=-1)]},
        {"transactions": [{**line(), "price": None}]},
        {"transactions": [{**line(), "transaction_id": True}]},
    ],
    ids=str,
)
def test_an_order_that_cannot_be_read_whole_is_not_guessed(broken: dict[str, Any]) -> None:
    shop, _ = etsy(answer(200, receipt(**broken)))
    assert isinstance(shop.read_order(OrderRef("etsy", "2001")), Unknown)


@pytest.mark.parametrize(
    ("amount", "divisor", "currency", "minor"),
    [
        (3500, 100, "EUR", 3500),
        (35000, 1000, "EUR", 3500),
        (35, 1, "EUR", 3500),
        (3500, 1, "JPY", 3500),
        (350000, 100, "JPY", 3500),
        (3500, 1000, "KWD", 3500),
        (0, 100, "EUR", 0),
    ],
)
def test_the_divisor_is_read_and_not_assumed(amount: int, divisor: int, currency: str, minor: int) -> None:
    total = {"amount": amount, "divisor": divisor, "currency_code": currency}
    assert order(receipt(grandtotal=total)).total == Money(minor, currency)


# ---------------------------------------------------------------- quotes


def test_units_are_priced_where_nothing_comes_on_top() -> None:
    shop, http = etsy(answer(200, receipt()))
    assert shop.quote_lines(replace(ORDER, order_id="2001"), (LineQuantity("11", 1),)) == Money(1500, "EUR")
    assert http.calls == [f"GET {RECEIPTS}/2001"]


@pytest.mark.parametrize(
    "more",
    [
        {"total_tax_cost": eur(100), "grandtotal": eur(3600)},
        {"discount_amt": eur(100), "grandtotal": eur(3400)},
        {"discount_amt": eur(100), "total_tax_cost": eur(100)},
        {"grandtotal": eur(3600)},
        {"total_tax_cost": None},
        {"gift_wrap_price": None},
        {"total_shipping_cost": {"amount": 500, "divisor": 100, "currency_code": "USD"}},
    ],
    ids=str,
)
def test_units_of_an_order_with_tax_or_discount_are_for_shop_manager_to_price(more: dict[str, Any]) -> None:
    shop, _ = etsy(answer(200, receipt(**more)))
    said = shop.quote_lines(replace(ORDER, order_id="2001"), (LineQuantity("11", 1),))
    assert isinstance(said, Permanent)
    assert said.code == "not_priced"
    assert said.reason.endswith(f"{SHOP_MANAGER}2001")


@pytest.mark.parametrize("wanted", [LineQuantity("11", 3), LineQuantity("11", 0), LineQuantity("12", 1)])
def test_units_that_the_order_does_not_have_have_no_price(wanted: LineQuantity) -> None:
    shop, _ = etsy(answer(200, receipt()))
    said = shop.quote_lines(replace(ORDER, order_id="2001"), (wanted,))
    assert isinstance(said, Permanent)
    assert said.code == "unknown_line"


# ---------------------------------------------------------------- payments


def test_a_payment_is_read_with_its_order() -> None:
    shop, http = etsy(rows(payment()), answer(200, receipt()))
    found = shop.read_payment("2001", "501")
    assert http.calls == [f"GET {RECEIPTS}/2001/payments", f"GET {RECEIPTS}/2001"]
    assert isinstance(found, PaymentFacts)
    assert (found.platform, found.reference, found.gateway) == ("etsy", "501", "etsy")
    assert (found.state, found.captured, found.authorised) == (
        PaymentState.CAPTURED,
        Money(3500, "EUR"),
        Money(0, "EUR"),
    )
    assert found.order_number == "2001"
    assert f"{SHOP_MANAGER}2001" in found.refund_refusal
    assert "nowhere else" in found.refund_refusal


def test_without_an_order_the_payment_is_asked_for_itself() -> None:
    shop, http = etsy(rows(payment()), answer(200, receipt()))
    assert isinstance(shop.read_payment("", "501"), PaymentFacts)
    assert http.requests[0].path == PAYMENTS
    assert dict(http.requests[0].params) == {"payment_ids": "501"}


def test_a_payment_that_is_not_among_those_of_its_order_is_not_found() -> None:
    shop, _ = etsy(rows(payment()))
    assert isinstance(shop.read_payment("2001", "502"), NotFound)
    shop, _ = etsy(rows(payment(receipt_id=2002)))
    assert isinstance(shop.read_payment("2001", "501"), Unknown)


@pytest.mark.parametrize("word", ["authed", "settled", "", "whatever"])
def test_a_paid_order_was_charged_whatever_the_payment_calls_it(word: str) -> None:
    """Nobody must be told that nothing was charged because the shop's account is credited later."""
    assert facts(payment(status=word)).state is PaymentState.CAPTURED
    unpaid = facts(payment(status=word), receipt(is_paid=False))
    assert (unpaid.state, unpaid.captured) == (PaymentState.NOT_PAID, Money(0, "EUR"))


@pytest.mark.parametrize(
    ("word", "is_success", "expected"),
    [
        ("REFUNDED", True, RefundStatus.SUCCEEDED),
        ("REFUNDED", None, RefundStatus.PENDING),
        ("REFUNDED", "true", RefundStatus.PENDING),
        ("REFUNDED", False, RefundStatus.FAILED),
        ("OPEN", True, RefundStatus.PENDING),
        ("OPEN", False, RefundStatus.PENDING),
        ("REFUND_FAILED", False, RefundStatus.FAILED),
        ("REFUND_FAILED", True, RefundStatus.FAILED),
        ("ERROR", None, RefundStatus.FAILED),
        ("NEW_WORD", True, RefundStatus.PENDING),
        ("NEW_WORD", False, RefundStatus.FAILED),
        ("", True, RefundStatus.PENDING),
    ],
)
def test_only_two_words_together_are_a_yes(word: str, is_success: object, expected: RefundStatus) -> None:
    assert refund_status(word, is_success) is expected


def test_adjustments_are_the_refunds() -> None:
    found = facts(payment(adjustment(1000), adjustment(500, "OPEN", payment_adjustment_id=92)))
    assert found.refunds == (
        RefundFact("91", Money(1000, "EUR"), RefundStatus.SUCCEEDED),
        RefundFact("92", Money(500, "EUR"), RefundStatus.PENDING),
    )
    assert found.refunded == 1500


def test_what_etsy_says_is_gone_counts_though_no_adjustment_tells_of_it() -> None:
    found = facts(payment(adjustment(1000), adjusted_gross=eur(2000)))
    assert found.refunds[1:] == (RefundFact("501:unlisted", Money(500, "EUR"), RefundStatus.SUCCEEDED),)
    assert facts(payment(adjustment(1000), adjusted_gross=eur(2500))).refunded == 1000


def test_a_failed_refund_is_not_hidden_by_what_etsy_says_is_left() -> None:
    failed = adjustment(1000, "REFUND_FAILED", is_success=False)
    found = facts(payment(failed, adjusted_gross=eur(2500)))
    assert found.refunded == 0
    assert "refund 91 of it ended as REFUND_FAILED" in found.refund_refusal


@pytest.mark.parametrize(
    "broken",
    [
        payment(adjustment(3501)),
        payment(adjustment(1000), currency="USD"),
        payment(adjusted_gross={"amount": 1, "divisor": 100, "currency_code": "USD"}),
    ],
)
def test_amounts_that_do_not_agree_stop_it(broken: dict[str, Any]) -> None:
    said = read_payment(broken)
    assert isinstance(said, Permanent)
    assert said.code == "amount_mismatch"


@pytest.mark.parametrize(
    "broken",
    [
        payment(payment_id=None),
        payment(receipt_id="2001"),
        payment(amount_gross=3500),
        payment(adjustment(-5)),
        payment(adjustment(total_adjustment_amount=None)),
        payment(adjustment(payment_adjustment_id=None)),
        {**payment(), "payment_adjustments": [7]},
    ],
    ids=str,
)
def test_a_payment_that_cannot_be_read_whole_is_not_guessed(broken: dict[str, Any]) -> None:
    assert isinstance(read_payment(broken), Unknown)


@pytest.mark.parametrize(
    ("_case", "age_s", "adjusted", "after_s"),
    [
        ("a moment ago", 0, (), 60.0),
        ("in an instant, by their clock", -5, (), 60.0),
        ("ten minutes ago", 600, (), 300.0),
        ("part of it shows", 600, (adjustment(1000),), 300.0),
        ("all of it is on its way", 0, (adjustment(3500, "OPEN"),), None),
        ("its refund failed", 0, (adjustment(3500, "REFUND_FAILED", is_success=False),), None),
        ("two hours ago", 7200, (), None),
    ],
)
def test_a_refund_that_follows_a_cancel_is_waited_for(
    _case: str, age_s: int, adjusted: tuple[dict[str, Any], ...], after_s: float | None
) -> None:
    shown = receipt(status="canceled", updated_timestamp=NOW_S - age_s)
    said = read_payment(payment(*adjusted), shown)
    if after_s is None:
        assert isinstance(said, PaymentFacts)
        assert "nothing back elsewhere" in said.refund_refusal
    else:
        assert isinstance(said, Retryable)
        assert (said.code, said.after_s) == ("unavailable", after_s)


def test_an_unpaid_order_that_was_cancelled_has_nothing_to_wait_for() -> None:
    shown = receipt(status="canceled", is_paid=False, updated_timestamp=NOW_S)
    assert isinstance(read_payment(payment(), shown), PaymentFacts)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("status", sorted(REFUSALS))
@pytest.mark.parametrize("ask", ["read_order", "read_payment", "quote_lines", "poll", "check"])
def test_every_refusal_is_read(status: int, ask: str) -> None:
    shop, _ = etsy(answer(status, {"error": "no", "error_description": "why"}))
    asks: dict[str, Callable[[], Any]] = {
        "read_order": lambda: shop.read_order(OrderRef("etsy", "2001")),
        "read_payment": lambda: shop.read_payment("2001", "501"),
        "quote_lines": lambda: shop.quote_lines(replace(ORDER, order_id="2001"), ()),
        "poll": lambda: shop.poll("", NOW),
        "check": shop.check,
    }
    said = asks[ask]()
    if ask == "check":
        assert not said.is_ok
        return
    match status:
        case 401 | 403:
            assert isinstance(said, Retryable)
            assert said.code == "unauthorised"
            assert "no: why" in said.reason
            assert "REFUNDFLOW_ETSY_SHARED_SECRET" in said.reason
        case 429:
            assert said == Retryable("throttled", "Etsy is asked too often")
        case 500 | 502 | 503 | 504:
            assert said == Retryable("unavailable", "Etsy is not available: no: why")
        case 404:
            assert isinstance(said, Permanent if ask in ("poll", "quote_lines") else NotFound)
            assert said.reason == "no: why"
        case _:
            assert said == Permanent(f"status_{status}", "no: why")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, Retryable("throttled", "Etsy is asked too often", 7.0)),
        ({"x-remaining-today": "12"}, Retryable("throttled", "Etsy is asked too often")),
        (
            {"x-remaining-today": "0", "Retry-After": "86400"},
            Retryable("throttled", "Etsy's calls of a day are used up", 3600.0),
        ),
        (
            {"x-remaining-today": "0", "Retry-After": "60"},
            Retryable("throttled", "Etsy's calls of a day are used up", 60.0),
        ),
    ],
)
def test_both_limits_are_told_apart(headers: dict[str, str], expected: Retryable) -> None:
    shop, _ = etsy(answer(429, {"error": "Exceeded"}, headers))
    assert shop.read_order(OrderRef("etsy", "2001")) == expected


@pytest.mark.parametrize("status", [200, 201, 302, 400, 404, 418, 501])
def test_a_page_that_is_no_answer_of_etsys_says_nothing(status: int) -> None:
    shop, _ = etsy(answer(status, "<html>hello</html>"))
    assert isinstance(shop.read_order(OrderRef("etsy", "2001")), Unknown)


def test_the_wires_own_trouble_is_passed_on() -> None:
    shop = Etsy(FakeHttp(always=MaybeSentError("reset")), SHOP, lambda: NOW)
    with pytest.raises(MaybeSentError):
        shop.poll("", NOW)


# ---------------------------------------------------------------- polling


def listed(number: int, updated: int, status: str = "canceled", **more: Any) -> dict[str, Any]:
    return {
        "receipt_id": number,
        "status": status,
        "created_timestamp": updated - 100,
        "updated_timestamp": updated,
        "refunds": [],
        **more,
    }


def entry(number: int, *adjustments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "entry_id": number,
        "ledger_type": "REFUND_GROSS" if adjustments else "PAYMENT_GROSS",
        "reference_type": "payment_adjustment" if adjustments else "shop_payment",
        "payment_adjustments": list(adjustments),
        **more,
    }


def at_rest(**more: Any) -> Cursor:
    """A cursor of five minutes ago, with nothing else due."""
    done = Stretch(NOW_S - 300)
    return replace(Cursor(NOW_S - 10 * DAY, done, done, done), **more)


def polled(found: Any) -> tuple[list[str], Cursor, bool]:
    assert isinstance(found, Polled), found
    return (
        [event.source_event_id for event in found.events],
        read_cursor(found.cursor, NOW_S),
        found.has_more,
    )


def asked(request: Request) -> dict[str, str]:
    return dict(request.params)


def test_the_first_look_begins_a_day_back_and_remembers_what_was_there() -> None:
    shop, http = etsy(rows(listed(3, NOW_S - 60), listed(2, NOW_S - DAY), listed(1, NOW_S - DAY - 1)), rows())
    told, at, has_more = polled(shop.poll("", NOW))
    assert told == [f"{SHOP}:3:canceled", f"{SHOP}:2:canceled"]
    assert at.told == ("3", "2", "1")
    assert has_more
    assert at.turn is Turn.LEDGER
    assert asked(http.sent) == {
        "was_canceled": "true",
        "sort_on": "updated",
        "sort_order": "desc",
        "limit": "100",
        "offset": "0",
    }
    told, at, has_more = polled(shop.poll(write_cursor(at), NOW))
    assert asked(http.requests[1]) == {
        "min_created": str(NOW_S - DAY - 3600),
        "max_created": str(NOW_S),
        "limit": "100",
        "offset": "0",
    }
    assert (told, has_more) == ([], False)
    assert at.ledger == Stretch(NOW_S)


def test_whatever_was_not_there_before_is_news_wherever_it_stands() -> None:
    shop, _ = etsy(rows(listed(9, NOW_S), listed(3, NOW_S - DAY), listed(7, NOW_S - 40 * DAY)))
    told, at, has_more = polled(shop.poll(write_cursor(at_rest(told=("3",))), NOW))
    assert told == [f"{SHOP}:9:canceled", f"{SHOP}:7:canceled"]
    assert at.told == ("9", "3", "7")
    assert not has_more
    assert at.cancels == Stretch(NOW_S)


def test_a_full_page_of_news_is_followed_by_the_next_until_the_last_look_is_reached() -> None:
    since = NOW_S - 300 - 3600
    first = [listed(1000 - i, NOW_S - i) for i in range(100)]
    second = [listed(910 - i, NOW_S - 90 - i * 50) for i in range(100)]
    shop, http = etsy(rows(*first), rows(*second))
    told, at, has_more = polled(shop.poll(write_cursor(at_rest()), NOW))
    assert (len(told), has_more, at.turn) == (100, True, Turn.CANCELS)
    assert at.cancels == Stretch(NOW_S - 300, NOW_S, 90)
    more, at, has_more = polled(shop.poll(write_cursor(at), NOW + timedelta(seconds=5)))
    assert asked(http.requests[1])["offset"] == "90"
    assert len(more) == 90, "ten of them stood on the page before"
    assert second[-1]["updated_timestamp"] < since
    assert (at.cancels, has_more) == (Stretch(NOW_S), False)


def test_a_list_that_never_ends_is_left_in_the_end() -> None:
    shop, _ = etsy(rows(*[listed(i, NOW_S) for i in range(1, 101)]))
    walking = at_rest(cancels=Stretch(NOW_S - 300, NOW_S, 5000))
    _, at, has_more = polled(shop.poll(write_cursor(walking), NOW))
    assert (at.cancels, has_more) == (Stretch(NOW_S), False)


def test_the_memory_stays_small() -> None:
    shop, _ = etsy(rows(*[listed(i, NOW_S - DAY) for i in range(1, 101)]))
    remembered = tuple(str(i) for i in range(1000, 1500))
    _, at, _ = polled(shop.poll(write_cursor(at_rest(told=remembered)), NOW))
    assert len(at.told) == 500
    assert at.told[:2] == ("1", "2")
    assert len(write_cursor(at)) < 8000


@pytest.mark.parametrize(
    ("_case", "done", "until"),
    [
        ("half an hour ago", NOW_S - 1800, NOW_S),
        ("three days ago", NOW_S - 3 * DAY, NOW_S),
        ("forty days ago", NOW_S - 40 * DAY, NOW_S - 33 * DAY),
    ],
)
def test_the_sweep_goes_on_where_the_last_one_ended(_case: str, done: int, until: int) -> None:
    shop, http = etsy(rows())
    _, at, has_more = polled(shop.poll(write_cursor(at_rest(ledger=Stretch(done), turn=Turn.LEDGER)), NOW))
    window = asked(http.sent)
    assert (window["min_created"], window["max_created"]) == (str(done - 3600), str(until))
    assert int(window["max_created"]) - int(window["min_created"]) < 31 * DAY
    assert at.ledger == Stretch(until)
    assert has_more is (until != NOW_S)


def test_a_long_sweep_keeps_its_window_while_it_is_paged() -> None:
    shop, http = etsy(rows(*[entry(i) for i in range(1, 101)]), rows(entry(101)))
    at = at_rest(ledger=Stretch(NOW_S - 7200), turn=Turn.LEDGER)
    _, at, has_more = polled(shop.poll(write_cursor(at), NOW))
    assert has_more
    _, at, has_more = polled(shop.poll(write_cursor(at), NOW + timedelta(seconds=60)))
    first, second = (asked(request) for request in http.requests)
    assert second == {**first, "offset": "100"}
    assert (at.ledger, has_more) == (Stretch(NOW_S), False)


def test_refunds_of_the_ledger_are_told_with_their_order_and_how_they_stand_now() -> None:
    shop, http = etsy(
        rows(entry(1), entry(2, adjustment(500, "OPEN"))),
        rows(payment(adjustment(500), adjustment(100, payment_adjustment_id=90))),
    )
    found = shop.poll(write_cursor(at_rest(turn=Turn.LEDGER, ledger=Stretch(NOW_S - 1800))), NOW)
    assert isinstance(found, Polled)
    told, _, _ = polled(found)
    assert told == ["payment_adjustment:91:REFUNDED", "payment_adjustment:90:REFUNDED"]
    assert [request.path for request in http.requests] == [LEDGER, PAYMENTS]
    assert asked(http.requests[1]) == {"payment_ids": "501"}
    assert json.loads(found.events[0].body) == {
        "shop_id": SHOP,
        "receipt_id": "2001",
        "payment_id": "501",
        "payment_adjustment_id": "91",
        "status": "REFUNDED",
    }


@pytest.mark.parametrize("silence", [rows(), answer(404, {"error": "Resource not found"})])
def test_a_refund_whose_payment_is_not_shown_is_told_all_the_same(silence: Response) -> None:
    shop, _ = etsy(rows(entry(2, adjustment(500, "OPEN"))), silence)
    found = shop.poll(write_cursor(at_rest(turn=Turn.LEDGER, ledger=Stretch(NOW_S - 1800))), NOW)
    assert isinstance(found, Polled)
    told, _, _ = polled(found)
    assert told == ["payment_adjustment:91:OPEN"]
    assert EtsyInbound(Secret()).read_event("refund", found.events[0].body) == PaymentRefundsChanged(
        "etsy", "501", None
    )


@pytest.mark.parametrize(
    ("more", "is_asked"),
    [
        ({"ledger_type": "REFUND_GROSS", "reference_type": "payment_adjustment"}, True),
        ({"ledger_type": "Refund", "reference_type": ""}, True),
        ({"ledger_type": "whatever", "reference_type": "payment_adjustment"}, True),
        ({"ledger_type": "transaction_refund", "reference_type": "transaction"}, False),
        ({"ledger_type": "listing_refund"}, False),
        ({}, False),
        ({"payment_adjustments": None, "ledger_type": None}, False),
    ],
)
def test_an_entry_that_does_not_name_its_refund_is_asked_about(more: dict[str, Any], is_asked: bool) -> None:
    shop, http = etsy(rows(entry(7, **more)), *([rows(payment(adjustment()))] if is_asked else []))
    found = shop.poll(write_cursor(at_rest(turn=Turn.LEDGER, ledger=Stretch(NOW_S - 1800))), NOW)
    told, _, _ = polled(found)
    assert told == (["payment_adjustment:91:REFUNDED"] if is_asked else [])
    if is_asked:
        assert http.requests[1].path == f"{LEDGER}/payments"
        assert asked(http.requests[1]) == {"ledger_entry_ids": "7"}
    assert http.is_drained


def test_the_daily_round_goes_through_all_orders_of_thirty_days_and_the_days_that_were_missed() -> None:
    at = at_rest(turn=Turn.ORDERS, orders=Stretch(NOW_S - 3 * DAY))
    shop, http = etsy(
        rows(
            listed(1, NOW_S - 20 * DAY, "Fully Refunded"),
            listed(2, NOW_S - DAY, "Fully Refunded"),
            listed(3, NOW_S - DAY, "paid", refunds=[{"created_timestamp": NOW_S - 50}]),
            listed(4, NOW_S - DAY, "paid", refunds=[{"created_timestamp": NOW_S - 20 * DAY}]),
            listed(5, NOW_S - DAY, "paid"),
            listed(6, NOW_S - DAY),
        )
    )
    told, at, has_more = polled(shop.poll(write_cursor(replace(at, told=("6",))), NOW))
    assert asked(http.sent) == {
        "min_created": str(NOW_S - 33 * DAY),
        "max_created": str(NOW_S),
        "sort_on": "created",
        "sort_order": "asc",
        "limit": "100",
        "offset": "0",
    }
    assert told == [f"{SHOP}:2:canceled"], "the first was refunded before polling began, the last was told"
    assert (at.asks, at.orders, has_more) == (("3",), Stretch(NOW_S), True)


def test_orders_of_which_something_went_back_are_asked_about_a_few_at_a_time() -> None:
    asks = tuple(str(2001 + i) for i in range(7))
    shop, http = etsy(
        *[rows(payment(adjustment(payment_adjustment_id=90 + i), receipt_id=2001 + i)) for i in range(4)],
        answer(404, {"error": "gone"}),
        rows(),
        rows(),
    )
    told, at, has_more = polled(shop.poll(write_cursor(at_rest(turn=Turn.ORDERS, asks=asks)), NOW))
    assert told == [f"payment_adjustment:{90 + i}:REFUNDED" for i in range(4)]
    assert http.calls == [f"GET {RECEIPTS}/{number}/payments" for number in asks[:5]]
    assert (at.asks, has_more) == (asks[5:], True)
    _, at, has_more = polled(shop.poll(write_cursor(at), NOW))
    assert (at.asks, has_more) == ((), False)


def test_cancels_come_first_when_the_other_lists_keep_them_waiting() -> None:
    late = at_rest(cancels=Stretch(NOW_S - 601), ledger=Stretch(NOW_S - DAY, NOW_S, 300), turn=Turn.LEDGER)
    shop, http = etsy(rows())
    _, at, has_more = polled(shop.poll(write_cursor(late), NOW))
    assert asked(http.sent)["was_canceled"] == "true"
    assert (at.turn, has_more) == (Turn.LEDGER, True)
    assert at.ledger == Stretch(NOW_S - DAY, NOW_S, 300), "and the sweep goes on where it was"


@pytest.mark.parametrize(
    ("turn", "answers"),
    [
        (Turn.CANCELS, [rows({"status": "canceled"})]),
        (Turn.CANCELS, [rows({"receipt_id": 1, "created_timestamp": None})]),
        (Turn.CANCELS, [rows(7)]),
        (Turn.LEDGER, [rows({"payment_adjustments": []})]),
        (Turn.LEDGER, [rows(entry(1, {"payment_id": 501}))]),
        (Turn.LEDGER, [rows(entry(1, adjustment())), answer(200, {"count": 0})]),
        (Turn.LEDGER, [rows(entry(1, adjustment())), rows({"payment_id": 501})]),
        (Turn.ORDERS, [answer(200, [])]),
    ],
)
def test_a_page_that_cannot_be_read_moves_nothing(turn: Turn, answers: list[Response]) -> None:
    at = at_rest(turn=turn, ledger=Stretch(NOW_S - 1800), orders=Stretch(NOW_S - DAY))
    shop, _ = etsy(*answers)
    assert isinstance(shop.poll(write_cursor(at), NOW), Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "2026-11-25|3",
        "\udcff".encode("utf-8", "replace").decode(),
        '{"v": 2}',
        write_cursor(at_rest()).replace("cancels", "else"),
        write_cursor(at_rest(told=("1",))).replace('"1"', '"1/../2"'),
        write_cursor(at_rest()).replace(f"[{NOW_S - 300},0,0]", "[1,2]"),
    ],
)
def test_what_is_no_cursor_begins_a_day_back(text: str) -> None:
    assert read_cursor(text, NOW_S) == Cursor(
        NOW_S - DAY, Stretch(NOW_S - DAY), Stretch(NOW_S - DAY), Stretch(NOW_S)
    )


def test_a_cursor_is_read_as_it_was_written() -> None:
    at = at_rest(
        cancels=Stretch(1, 2, 3), turn=Turn.ORDERS, told=("5", "6"), asks=("7",), orders=Stretch(8, 9, 10)
    )
    assert read_cursor(write_cursor(at), NOW_S) == at


def test_a_clock_that_was_set_back_reads_no_window_backwards() -> None:
    assert Stretch(100).started(50) == Stretch(100, 100)


# ---------------------------------------------------------------- events

BODY = (
    b'{"event_type":"order.canceled","resource_url":"https://api.etsy.com/v3/application/shops/123456/receipts/'
    b'234567890","shop_id":"123456"}'
)
#: Computed with the reference package of Standard Webhooks.
SIGNATURE = "PS5wkrxPEu2K9yvxLyYi+9NaGnLQDWJtSB940fQ+UTM="
SIGNED_AT = datetime.fromtimestamp(1795343400, UTC)


def inbound(secret: str = SECRET, shop_id: str = "123456") -> EtsyInbound:
    return EtsyInbound(Secret(secret), shop_id)


def delivery(body: bytes = BODY, **headers: str) -> Delivery:
    named = {
        "webhook-id": "msg_etsy_1",
        "webhook-timestamp": "1795343400",
        "webhook-signature": f"v1,{SIGNATURE}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Delivery({name: value for name, value in named.items() if value}, body)


def signed(body: bytes, message_id: str = "msg_1", at: int = 1795343400) -> Delivery:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    message = f"{message_id}.{at}.".encode() + body
    signature = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
    return delivery(
        body, webhook_id=message_id, webhook_timestamp=str(at), webhook_signature=f"v1,{signature}"
    )


@pytest.mark.parametrize(
    "signature",
    [
        f"v1,{SIGNATURE}",
        SIGNATURE,
        f"v1,AAAA v1,{SIGNATURE}",
        f"v1a,AAAA {SIGNATURE}",
        f"  v1,{SIGNATURE}  ",
    ],
)
def test_a_signature_is_accepted_in_every_form_it_may_have(signature: str) -> None:
    verified = inbound().verify(delivery(webhook_signature=signature), SIGNED_AT)
    assert verified == Verified("123456:234567890:canceled", "order.canceled")


@pytest.mark.parametrize(
    ("_case", "wrong"),
    [
        ("another body", delivery(BODY + b" ")),
        ("another id", delivery(webhook_id="msg_etsy_2")),
        ("another time", delivery(webhook_timestamp="1795343401")),
        ("no id", delivery(webhook_id="")),
        ("no time", delivery(webhook_timestamp="")),
        ("a time that is none", delivery(webhook_timestamp="1795343400.0")),
        ("a time in other digits", delivery(webhook_timestamp="١٧٩٥٣٤٣٤٠٠")),
        ("no signature", delivery(webhook_signature="")),
        ("an empty one", delivery(webhook_signature="v1,")),
        ("another version", delivery(webhook_signature=f"v2,{SIGNATURE}")),
        ("in capitals", delivery(webhook_signature=f"v1,{SIGNATURE.upper()}")),
        ("no ASCII", delivery(webhook_signature="v1,\udcff")),
        ("too long", signed(b'{"event_type":"order.paid","x":"' + b"x" * 65_536 + b'"}')),
    ],
)
def test_what_is_not_etsys_is_refused(_case: str, wrong: Delivery) -> None:
    assert isinstance(inbound().verify(wrong, SIGNED_AT), Refused)


def test_the_order_of_what_is_signed_is_id_time_body() -> None:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    for message in (b"1795343400.msg_etsy_1." + BODY, b"1795343400." + BODY, BODY):
        digest = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
        assert isinstance(inbound().verify(delivery(webhook_signature=digest), SIGNED_AT), Refused)
    # The secret's text is not the key.
    message = b"msg_etsy_1.1795343400." + BODY
    digest = base64.b64encode(hmac.new(SECRET.encode(), message, hashlib.sha256).digest()).decode()
    assert isinstance(inbound().verify(delivery(webhook_signature=digest), SIGNED_AT), Refused)


@pytest.mark.parametrize(
    ("seconds", "is_fresh"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)]
)
def test_a_signature_is_good_for_five_minutes(seconds: int, is_fresh: bool) -> None:
    said = inbound().verify(delivery(), SIGNED_AT + timedelta(seconds=seconds))
    assert isinstance(said, Verified) is is_fresh


@pytest.mark.parametrize(
    ("secret", "holds"),
    [
        (f"whsec_b2xkLXNlY3JldA==, {SECRET}", True),
        (f"{SECRET},whsec_b2xkLXNlY3JldA==", True),
        (SECRET.removeprefix("whsec_"), True),
        ("whsec_b2xkLXNlY3JldA==", False),
        ("", False),
        (" , ", False),
        ("whsec_", False),
        ("not base64 at all", False),
    ],
)
def test_several_secrets_hold_and_none_is_never_enough(secret: str, holds: bool) -> None:
    assert isinstance(inbound(secret).verify(delivery(), SIGNED_AT), Verified) is holds


@pytest.mark.parametrize("text", ["A", "AB", "ABC", "=", "====", "AB=C", "AA-_", "AAAA\n"])
def test_keys_that_are_no_base64_are_no_keys(text: str) -> None:
    assert signing_keys([text]) == []


def test_a_redelivery_has_the_same_id_and_a_new_time() -> None:
    first = inbound().verify(signed(BODY, "msg_7", 1795343400), SIGNED_AT)
    later = inbound().verify(signed(BODY, "msg_7", 1795343700), SIGNED_AT + timedelta(minutes=5))
    resent = inbound().verify(signed(BODY, "msg_8", 1795343400), SIGNED_AT)
    assert first == later == resent == Verified("123456:234567890:canceled", "order.canceled")
    paid = b'{"event_type":"order.paid","resource_url":"x","shop_id":"1"}'
    assert inbound().verify(signed(paid, "msg_9"), SIGNED_AT) == Verified("msg_9", "order.paid")


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"event_type": 5}', b"\xff"])
def test_a_signed_body_that_is_no_event_is_kept_and_shown_as_unreadable(body: bytes) -> None:
    verified = inbound().verify(signed(body), SIGNED_AT)
    assert verified == Verified("msg_1", "unknown")
    with pytest.raises(MalformedError) as told:
        inbound().read_event("unknown", body)
    assert told.value.field == "event_type"


URL = "https://api.etsy.com/v3/application/shops/123456/receipts/234567890"


@pytest.mark.parametrize(
    "event",
    [
        {"event_type": "order.canceled", "resource_url": URL, "shop_id": 123456},
        {"event_type": "order.canceled", "resource_url": f"{URL}/", "shop_id": "123456"},
        {"event_type": "order.canceled", "resource_url": f"{URL}?legacy=true"},
        {
            "event_type": "order.canceled",
            "resource_url": "https://evil.example/shops/123456/receipts/234567890",
        },
        {"event_type": "ORDER_CANCELED", "event_id": "e", "created_at": 1, "data": {"resource_url": URL}},
    ],
    ids=str,
)
def test_a_cancel_names_its_order_by_the_path_alone(event: dict[str, Any]) -> None:
    """Whatever host it names: nobody is called there."""
    body = json.dumps(event).encode()
    assert inbound().verify(signed(body), SIGNED_AT) == Verified(
        "123456:234567890:canceled", "order.canceled"
    )
    assert inbound().read_event("order.canceled", body) == OrderCancelledElsewhere(
        OrderRef("etsy", "234567890")
    )


@pytest.mark.parametrize(
    "address",
    [
        None,
        5,
        "",
        "shops/123456/receipts/234567890",
        "https://api.etsy.com/v3/application/shops/123456/receipts/234567890/payments",
        "https://api.etsy.com/v3/application/shops/abc/receipts/234567890",
        "https://api.etsy.com/v3/application/shops/123456/receipts/0",
        "https://api.etsy.com/v3?x=/shops/123456/receipts/234567890",
        "https://[api.etsy.com/shops/123456/receipts/x",
    ],
)
def test_a_cancel_without_an_order_is_kept_and_shown_as_unreadable(address: Any) -> None:
    body = json.dumps({"event_type": "order.canceled", "resource_url": address}).encode()
    assert inbound().verify(signed(body), SIGNED_AT) == Verified("msg_1", "order.canceled")
    with pytest.raises(MalformedError) as told:
        inbound().read_event("order.canceled", body)
    assert told.value.field == "resource_url"


def test_another_shops_cancel_is_taken_and_left_alone() -> None:
    """A refusal would make Etsy send it for a day, and then switch the endpoint off."""
    other = inbound(shop_id="77")
    assert isinstance(other.verify(delivery(), SIGNED_AT), Verified)
    assert isinstance(other.read_event("order.canceled", BODY), Irrelevant)
    assert isinstance(inbound(shop_id="").read_event("order.canceled", BODY), OrderCancelledElsewhere)


@pytest.mark.parametrize("topic", ["order.paid", "order.shipped", "order.delivered", "order.whatever"])
def test_other_topics_ask_nothing_of_us(topic: str) -> None:
    assert isinstance(inbound().read_event(topic, b"{}"), Irrelevant)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"", b'{"payment_id": "x", "receipt_id": "1"}', b'{"payment_id": 5}']
)
def test_a_refund_without_a_payment_is_unreadable(body: bytes) -> None:
    with pytest.raises(MalformedError):
        inbound().read_event("refund", body)
