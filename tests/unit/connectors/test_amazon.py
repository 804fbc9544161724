"""Amazon's connector: what it sends, what it makes of answers, and that no feed is made beside one that may be ours."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from refundflow.connectors import amazon
from refundflow.connectors.amazon import (
    CANCEL_REQUESTED,
    CANCELLED,
    REFUND_FEED,
    REFUNDED,
    SPEC,
    UNREADABLE,
    Amazon,
    AmazonInbound,
    Credentials,
    Feed,
    Looked,
    Order,
    Report,
    build,
    buyers_part,
    judge_refund_feeds,
    message_id,
    queue_request,
    read_cursor,
    read_failure,
    read_notification,
    read_order_object,
    read_report,
    sign_v4,
    unexplained,
)
from refundflow.connectors.base import Capability, Polled
from refundflow.domain.commands import CancelOrder, Refund
from refundflow.domain.facts import LineQuantity, OrderFacts, OrderRef, PaymentFacts, PaymentState, TakesBack
from refundflow.domain.ids import mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    CancellationRequested,
    Delivery,
    Irrelevant,
    MalformedError,
    OrderCancelledElsewhere,
    PaymentRefundsChanged,
    Refused,
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
from refundflow.transport.base import MaybeSentError, Request, Response
from tests.support.fake_http import FakeHttp, FakeWire, FixedTokens, answer

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 4711)
ID = "111-1234567-7654321"
URL = "https://tortuga.example/NinetyDays/amzn1?X-Amz-Signature=feedfeed"


def usd(text: str) -> dict[str, str]:
    return {"amount": text, "currencyCode": "USD"}


def item(item_id: str = "10000000000001", **more: Any) -> dict[str, Any]:
    return {
        "orderItemId": item_id,
        "quantityOrdered": 2,
        "product": {"sellerSku": "MUG", "title": "Mug"},
        "proceeds": {
            "breakdowns": [
                {"type": "ITEM", "subtotal": usd("30.00")},
                {"type": "SHIPPING", "subtotal": usd("4.00")},
                {"type": "TAX", "subtotal": usd("2.80")},
                {"type": "DISCOUNT", "subtotal": usd("-1.00")},
            ]
        },
        "fulfillment": {"quantityFulfilled": 2, "quantityUnfulfilled": 0},
        "tax": {"taxCollections": [{"model": "MARKETPLACE_FACILITATOR"}]},
        **more,
    }


def order(status: str = "SHIPPED", by: str = "MERCHANT", **more: Any) -> dict[str, Any]:
    done = {"quantityFulfilled": 2, "quantityUnfulfilled": 0}
    waits = {"quantityFulfilled": 0, "quantityUnfulfilled": 2}
    return {
        "orderId": ID,
        "createdTime": "2026-11-20T09:00:00Z",
        "lastUpdatedTime": "2026-11-21T09:00:00Z",
        "salesChannel": {"channelName": "AMAZON", "marketplaceId": "ATVPDKIKX0DER"},
        "proceeds": {"grandTotal": usd("35.80")},
        "fulfillment": {"fulfillmentStatus": status, "fulfilledBy": by},
        "orderItems": [item(fulfillment=done if status == "SHIPPED" else waits)],
        **more,
    }


def read(value: dict[str, Any]) -> Order:
    found = read_order_object(value)
    assert found is not None
    return found


def transaction(kind: str = "Refund", amount: str = "-33.00", **more: Any) -> dict[str, Any]:
    return {
        "transactionType": kind,
        "transactionId": "T1",
        "postedDate": "2026-11-25T13:00:00Z",
        "totalAmount": {"currencyAmount": Decimal(amount), "currencyCode": "USD"},
        "relatedIdentifiers": [{"relatedIdentifierName": "ORDER_ID", "relatedIdentifierValue": ID}],
        "breakdowns": [part("ProductCharges", amount)],
        **more,
    }


def part(name: str, amount: str, *inner: dict[str, Any]) -> dict[str, Any]:
    money = {"currencyAmount": Decimal(amount), "currencyCode": "USD"}
    return {"breakdownType": name, "breakdownAmount": money, "breakdowns": list(inner) or None}


def feed(feed_id: str = "F1", status: str = "DONE", ago_h: float = 1.0, **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(hours=ago_h)).isoformat()
    return {
        "feedId": feed_id,
        "feedType": REFUND_FEED,
        "createdTime": at,
        "processingStatus": status,
        **({"processingEndTime": at, "resultFeedDocumentId": f"R{feed_id}"} if status == "DONE" else {}),
        **more,
    }


def in_utf16(content: bytes) -> bytes:
    """The same document, its own word about its encoding included."""
    return content.decode().replace("UTF-8", "UTF-16").replace("utf-8", "utf-16").encode("utf-16")


def report(successful: int = 1, errors: tuple[tuple[str, str, str], ...] = (), more: str = "") -> bytes:
    results = "".join(
        f"<Result><MessageID>{number}</MessageID><ResultCode>Error</ResultCode><ResultMessageCode>{code}</ResultMessageCode>"
        f"<ResultDescription>{told}</ResultDescription></Result>"
        for number, code, told in errors
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{more}<AmazonEnvelope><Message><MessageID>1</MessageID><ProcessingReport>'
        f"<ProcessingSummary><MessagesProcessed>1</MessagesProcessed><MessagesSuccessful>{successful}</MessagesSuccessful>"
        f"<MessagesWithError>{len(errors)}</MessagesWithError></ProcessingSummary>{results}</ProcessingReport></Message></AmazonEnvelope>"
    ).encode()


def refund(minor: int = 3300, attempt: int = 1, **more: Any) -> Refund:
    step_key = mint_step_key(CASE, "refund", 1)
    return Refund(
        **{
            "step_key": step_key,
            "key": wire_key(step_key, attempt),
            "order_id": ID,
            "order_number": ID,
            "payment_reference": ID,
            "gateway": "amazon",
            "amount": Money(minor, "USD"),
            "is_whole": True,
            **more,
        }
    )


def cancel(**more: Any) -> CancelOrder:
    step_key = mint_step_key(CASE, "cancel_order", 1)
    return CancelOrder(
        **{
            "step_key": step_key,
            "key": wire_key(step_key, 1),
            "order_id": ID,
            "reason": "customer",
            "restock": False,
            **more,
        }
    )


OURS = message_id(refund().key)


class Vendor:
    """Answers by path, so that a test names only what it is about. `made`: feeds that were created."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "order": {"order": order()},
            "transactions": {"payload": {"transactions": []}},
            "feeds": {"feeds": []},
            "report": report(),
            "document": answer(201, {"feedDocumentId": "D1", "url": URL}),
            "upload": answer(200, ""),
            "create": answer(202, {"feedId": "F9"}),
            **answers,
        }
        self.http = FakeHttp(always=self.play)

    def play(self, request: Request) -> Any:
        name = self.name_of(request)
        found = self.answers[name]
        if isinstance(found, Response | MaybeSentError):
            return found
        return answer(200, found)

    @staticmethod
    def name_of(request: Request) -> str:
        match request.method, request.path:
            case "PUT", _:
                return "upload"
            case "POST", path:
                return "create" if path.endswith("/feeds") else "document"
            case _, path if path.startswith("/orders/"):
                return "order"
            case _, path if path.startswith("/finances/"):
                return "transactions"
            case _, path if path.endswith("/feeds"):
                return "feeds"
            case _, path if path.startswith("/feeds/"):
                return "report_address"
            case _:
                return "report"

    def build(self, **more: Any) -> Amazon:
        self.answers.setdefault("report_address", {"feedDocumentId": "R", "url": URL})
        settings = {"marketplaces": ("ATVPDKIKX0DER",), "now": lambda: NOW, **more}
        return Amazon(self.http, self.http, "A3PRACTICE", **settings)

    @property
    def asked(self) -> list[str]:
        return [self.name_of(request) for request in self.http.requests]

    @property
    def feeds_made(self) -> int:
        return self.asked.count("create")

    @property
    def uploaded(self) -> str:
        (sent,) = [r for r in self.http.requests if r.method == "PUT"]
        assert sent.body is not None
        return sent.body.decode()


CREDENTIALS = Credentials(
    client_id="client",
    client_secret=Secret("practice-client-secret"),
    refresh_token=Secret("Atzr|practice"),
    seller_id="A3PRACTICE",
)


# ---------------------------------------------------------------- orders


class TestOrder:
    def test_parts_are_what_the_seller_could_return(self) -> None:
        assert read(order()).items[0].parts == {"Principal": 2900, "Shipping": 400}

    def test_tax_that_the_seller_collected_is_a_part(self) -> None:
        found = read(order(orderItems=[item(tax=None)])).items[0]
        assert found.parts == {"Principal": 2900, "Shipping": 400, "Tax": 280}

    def test_details_say_what_a_tax_and_a_discount_are_for(self) -> None:
        def row(kind: str, total: str, **details: str) -> dict[str, Any]:
            told = [{"subtype": name, "value": usd(value)} for name, value in details.items()]
            return {"type": kind, "subtotal": usd(total), "detailedBreakdowns": told}

        rows = [
            row("ITEM", "30.00"),
            row("SHIPPING", "4.00"),
            row("TAX", "4.00", ITEM="3.00", SHIPPING="1.00"),
            row("DISCOUNT", "5.00", ITEM="1.00", SHIPPING="4.00"),
        ]
        found = read(order(orderItems=[item(tax=None, proceeds={"breakdowns": rows})])).items[0]
        assert found.parts == {"Principal": 2900, "Tax": 300, "ShippingTax": 100}

    def test_without_rows_the_unit_price_counts(self) -> None:
        product = {"sellerSku": "MUG", "price": {"unitPrice": usd("15.00")}}
        assert read(order(orderItems=[item(proceeds=None, product=product)])).items[0].parts == {
            "Principal": 3000
        }

    def test_some_units_are_worth_their_share_without_shipping(self) -> None:
        found = read(order(orderItems=[item(tax=None)])).items[0]
        assert found.worth(1) == {"Principal": 1450, "Tax": 140}
        assert found.worth(2) == {"Principal": 2900, "Tax": 280, "Shipping": 400}

    def test_the_total_may_stand_at_the_items_only(self) -> None:
        one = item()
        one["proceeds"]["proceedsTotal"] = usd("35.80")
        assert read(order(proceeds=None, orderItems=[one])).total == Money(3580, "USD")

    def test_yen_have_no_places(self) -> None:
        proceeds = {"breakdowns": [{"type": "ITEM", "subtotal": {"amount": "3000", "currencyCode": "JPY"}}]}
        total = {"grandTotal": {"amount": "3000", "currencyCode": "JPY"}}
        found = read(order(proceeds=total, orderItems=[item(proceeds=proceeds)]))
        assert found.total == Money(3000, "JPY")
        assert found.items[0].parts == {"Principal": 3000}

    @pytest.mark.parametrize(
        "broken",
        [
            {"createdTime": "yesterday"},
            {"fulfillment": {"fulfillmentStatus": "LOST", "fulfilledBy": "MERCHANT"}},
            {"fulfillment": {"fulfillmentStatus": "SHIPPED"}},
            {"salesChannel": {}},
            {"orderItems": []},
            {"orderItems": [item(quantityOrdered="2")]},
            {"orderItems": [item(fulfillment={"quantityFulfilled": "2"})]},
            {"orderItems": [item(proceeds={"breakdowns": [{"type": "ITEM", "subtotal": usd("1.005")}]})]},
            {"proceeds": {"grandTotal": {"amount": 35.8, "currencyCode": "USD"}}},
        ],
        ids=lambda broken: next(iter(broken)),
    )
    def test_what_matters_and_cannot_be_read_makes_the_order_unreadable(self, broken: dict[str, Any]) -> None:
        assert read_order_object(order(**broken)) is None

    def test_facts(self) -> None:
        facts = Vendor().build().read_order(OrderRef("amazon", ID))
        assert isinstance(facts, OrderFacts)
        assert (facts.order_id, facts.number, facts.total) == (ID, ID, Money(3580, "USD"))
        assert (facts.email, facts.customer_name, facts.phone) == ("", "", "")  # Amazon writes to the buyer
        assert facts.lines[0].quantity == 2
        assert facts.is_fulfilled
        assert [(p.transaction_id, p.gateway, p.is_captured, p.amount.minor) for p in facts.payments] == [
            (ID, "amazon", True, 3300)
        ]
        assert (facts.cancels, facts.cancels_lines) == (TakesBack.CALL, TakesBack.PERSON)
        assert (facts.releases_authorisations, facts.records_refunds) == (True, False)
        assert not facts.restocks_itself

    def test_a_number_is_the_orders_id(self) -> None:
        vendor = Vendor()
        assert isinstance(vendor.build().read_order(OrderRef("amazon", number=f"#{ID}")), OrderFacts)
        said = vendor.build().read_order(OrderRef("amazon", number="1042"))
        assert isinstance(said, Permanent)
        assert len(vendor.http.requests) == 1

    def test_a_cancelled_order_says_when(self) -> None:
        vendor = Vendor(order={"order": order("CANCELLED")})
        facts = vendor.build().read_order(OrderRef("amazon", ID))
        assert isinstance(facts, OrderFacts)
        assert facts.cancelled_at == datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
        assert facts.unfulfilled == ()

    def test_an_order_whose_amounts_are_not_told_is_read_later(self) -> None:
        pending = order("PENDING", proceeds=None, orderItems=[item(proceeds=None)])
        said = Vendor(order={"order": pending}).build().read_order(OrderRef("amazon", ID))
        assert isinstance(said, Retryable)
        assert said.code == "unavailable"

    def test_where_nobody_sets_its_quantities_a_cancel_raises_amazons_own_stock(self) -> None:
        facts = Vendor().build(is_stock_pushed=False).read_order(OrderRef("amazon", ID))
        assert isinstance(facts, OrderFacts)
        assert facts.restocks_itself

    @pytest.mark.parametrize(
        ("value", "word"),
        [
            (order("UNSHIPPED"), ""),
            (order("UNSHIPPED", by="AMAZON"), "Amazon fulfils it"),
            (order("PENDING"), "PENDING"),
            (order("PENDING_AVAILABILITY"), "PENDING"),
            (order("UNFULFILLABLE"), "UNFULFILLABLE"),
            (order("UNSHIPPED", packages=[{"packageStatus": {"status": "IN_TRANSIT"}}]), "carrier"),
            (order("UNSHIPPED", packages=[{"packageStatus": {"status": "PENDING"}}]), ""),
        ],
    )
    def test_refusals_are_known_beforehand(self, value: dict[str, Any], word: str) -> None:
        said = amazon.cancel_refusal(read(value))
        assert (word in said) if word else said == ""

    def test_a_quote_is_of_the_lines_that_are_there(self) -> None:
        connector = Vendor().build()
        facts = connector.read_order(OrderRef("amazon", ID))
        assert isinstance(facts, OrderFacts)
        line = facts.lines[0].line_id
        assert connector.quote_lines(facts, (LineQuantity(line, 1),)) == Money(1450, "USD")
        for wrong in (LineQuantity("nothing", 1), LineQuantity(line, 3), LineQuantity(line, 0)):
            said = connector.quote_lines(facts, (wrong,))
            assert isinstance(said, Permanent)
            assert said.code == "unknown_line"


# ---------------------------------------------------------------- cancel


class TestCancel:
    def test_every_item_is_listed_with_its_reason(self) -> None:
        items = [item(f"1000000000000{n}", fulfillment=None) for n in (1, 2)]
        vendor = Vendor(order={"order": order("UNSHIPPED", orderItems=items)})
        assert vendor.build().cancel_order(cancel()) == Pending("F9", 300.0)
        assert vendor.asked == ["order", "document", "upload", "create"]
        sent = vendor.uploaded
        assert sent.count("<Item>") == sent.count("<CancelReason>BuyerCanceled</CancelReason>") == 2
        assert f"<AmazonOrderID>{ID}</AmazonOrderID>" in sent
        assert f"<MerchantOrderID>{cancel().step_key}</MerchantOrderID>" in sent
        assert "<StatusCode>Failure</StatusCode>" in sent
        assert vendor.http.requests[-1].json == {
            "feedType": "POST_ORDER_ACKNOWLEDGEMENT_DATA",
            "marketplaceIds": ["ATVPDKIKX0DER"],
            "inputFeedDocumentId": "D1",
        }

    def test_the_sellers_own_number_is_kept(self) -> None:
        alias = [{"aliasId": "S-1 <&>", "aliasType": "SELLER_ORDER_ID"}]
        vendor = Vendor(order={"order": order("UNSHIPPED", orderAliases=alias)})
        vendor.build().cancel_order(cancel())
        assert "<MerchantOrderID>S-1 &lt;&amp;&gt;</MerchantOrderID>" in vendor.uploaded

    @pytest.mark.parametrize(
        ("reason", "word"),
        [
            ("customer", "BuyerCanceled"),
            ("inventory", "NoInventory"),
            ("fraud", "RiskAssessmentInformationNotValid"),
            ("declined", "CannotVerifyInformation"),
            ("staff", "GeneralAdjustment"),
            ("other", "GeneralAdjustment"),
        ],
    )
    def test_only_a_buyers_wish_is_called_one(self, reason: str, word: str) -> None:
        vendor = Vendor(order={"order": order("UNSHIPPED")})
        vendor.build().cancel_order(cancel(reason=reason))
        assert f"<CancelReason>{word}</CancelReason>" in vendor.uploaded

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (order("SHIPPED"), "shipped_meanwhile"),
            (order("PARTIALLY_SHIPPED"), "shipped_meanwhile"),
            (order("UNSHIPPED", packages=[{"packageStatus": {"status": "SHIPPED"}}]), "shipped_meanwhile"),
            (order("UNSHIPPED", by="AMAZON"), "fulfilled_by_amazon"),
            (order("UNFULFILLABLE"), "not_cancellable"),
        ],
    )
    def test_what_must_not_be_cancelled_is_never_written_to(self, value: dict[str, Any], code: str) -> None:
        vendor = Vendor(order={"order": value})
        said = vendor.build().cancel_order(cancel())
        assert isinstance(said, Permanent)
        assert said.code == code
        assert vendor.asked == ["order"]

    def test_a_pending_order_is_tried_again_later(self) -> None:
        vendor = Vendor(order={"order": order("PENDING")})
        said = vendor.build().cancel_order(cancel())
        assert isinstance(said, Retryable)
        assert said.after_s == 3600.0
        assert vendor.asked == ["order"]

    @pytest.mark.parametrize(
        ("by", "kind"), [("MERCHANT", Done), ("BUYER", AlreadyDone), ("AMAZON", AlreadyDone)]
    )
    def test_the_orders_own_status_is_the_proof(self, by: str, kind: type) -> None:
        done = [item(cancellation={"cancellationExecution": {"cancelledBy": by}})]
        vendor = Vendor(order={"order": order("CANCELLED", orderItems=done)})
        assert isinstance(vendor.build().find_cancel_order(cancel()), kind)
        assert isinstance(vendor.build().cancel_order(cancel()), kind)
        assert vendor.feeds_made == 0

    def test_a_refused_message_of_ours_is_a_no(self) -> None:
        feeds = {"feeds": [{**feed(), "feedType": amazon.CANCEL_FEED}]}
        told = report(0, ((message_id(cancel().key), "18028", "not allowed"),))
        vendor = Vendor(order={"order": order("UNSHIPPED")}, feeds=feeds, report=answer(200, told))
        said = vendor.build().find_cancel_order(cancel())
        assert said == Permanent("18028", "feed F1: not allowed")

    @pytest.mark.parametrize(
        ("feeds", "kind"),
        [
            ([], NotFound),
            ([feed(status="IN_QUEUE")], Unknown),
            ([feed(status="IN_PROGRESS", ago_h=9)], Unknown),
            ([feed()], NotFound),
            ([feed(status="FATAL")], NotFound),
        ],
    )
    def test_an_open_order_waits_for_every_feed_that_hangs(self, feeds: list[Any], kind: type) -> None:
        told = {"feeds": [{**each, "feedType": amazon.CANCEL_FEED} for each in feeds]}
        vendor = Vendor(order={"order": order("UNSHIPPED")}, feeds=told)
        found = vendor.build().find_cancel_order(cancel())
        assert isinstance(found, kind)
        if isinstance(found, NotFound):
            assert found.conclusive_after_s == (amazon.CANCEL_SETTLED_S if feeds else amazon.FEEDS_SETTLED_S)


# ---------------------------------------------------------------- money


class TestPayment:
    @pytest.mark.parametrize(
        ("value", "transactions", "state", "captured", "authorised"),
        [
            (order("UNSHIPPED"), [], PaymentState.AUTHORISED, 0, 3300),
            (order("PENDING"), [], PaymentState.NOT_PAID, 0, 0),
            (order("CANCELLED"), [], PaymentState.VOIDED, 0, 0),
            (order(), [], PaymentState.CAPTURED, 3300, 0),
            (order(), [transaction("Shipment", "31.00")], PaymentState.CAPTURED, 3100, 0),
            (order(), [transaction("Shipment", "35.80")], PaymentState.CAPTURED, 3300, 0),
        ],
    )
    def test_the_buyer_is_charged_when_it_ships(
        self, value: Any, transactions: list[Any], state: PaymentState, captured: int, authorised: int
    ) -> None:
        vendor = Vendor(order={"order": value}, transactions={"payload": {"transactions": transactions}})
        facts = vendor.build().read_payment("", ID)
        assert isinstance(facts, PaymentFacts)
        assert (facts.state, facts.captured.minor, facts.authorised.minor) == (state, captured, authorised)
        assert (facts.platform, facts.reference, facts.gateway) == ("amazon", ID, "amazon")

    def test_refunds_come_from_the_finances_with_the_fees_left_out(self) -> None:
        told = transaction(
            totalAmount={"currencyAmount": Decimal("-28.00"), "currencyCode": "USD"},
            breakdowns=[
                part("Expenses", "-33.00", part("ProductCharges", "-29.00"), part("Shipping", "-4.00")),
                part("Sales", "5.00", part("AmazonFees", "5.00")),
            ],
        )
        vendor = Vendor(transactions={"payload": {"transactions": [told]}})
        facts = vendor.build().read_payment("", ID)
        assert isinstance(facts, PaymentFacts)
        assert [(r.reference, r.amount.minor, r.step_key) for r in facts.refunds] == [("T1", 3300, "")]

    def test_withheld_tax_cancels_out_and_discounts_count(self) -> None:
        nodes = [
            part("Tax", "-2.80"),
            part("MarketplaceFacilitatorTax-Principal", "2.80"),
            part("ProductCharges", "-30.00"),
            part("PromoRebates", "1.00"),
            part("RefundCommission", "-0.60"),
            part("ShippingChargeback", "4.00"),
        ]
        assert buyers_part(transaction(breakdowns=nodes)) == Money(-2900, "USD")

    def test_the_items_parts_stand_in_for_missing_ones(self) -> None:
        told = transaction(breakdowns=None, items=[{"breakdowns": [part("Principle", "-3.00")]}] * 2)
        assert buyers_part(told) == Money(-600, "USD")
        assert buyers_part(transaction(breakdowns={"breakdowns": [part("Sales", "-3.00")]})) == Money(
            -300, "USD"
        )
        assert buyers_part(transaction(breakdowns=None)) is None

    def test_a_release_is_not_counted_beside_what_was_deferred(self) -> None:
        def related(name: str, value: str) -> dict[str, Any]:
            return {"relatedIdentifierName": name, "relatedIdentifierValue": value}

        told = [
            transaction(transactionId="T1", relatedIdentifiers=[related("RELEASE_TRANSACTION_ID", "T2")]),
            transaction(transactionId="T2", relatedIdentifiers=[related("DEFERRED_TRANSACTION_ID", "T1")]),
        ]
        facts = Vendor(transactions={"payload": {"transactions": told}}).build().read_payment("", ID)
        assert isinstance(facts, PaymentFacts)
        assert facts.refunded == 3300

    @pytest.mark.parametrize(
        ("kind", "counts"),
        [
            ("Refund", True),
            ("ChargebackRefund", True),
            ("GuaranteeClaim", True),
            ("Retrocharge", False),
            ("RetrochargeRefund", False),
            ("ServiceFee", False),
            ("Adjustment", False),
        ],
    )
    def test_claims_are_money_that_went_back_too(self, kind: str, counts: bool) -> None:
        told = {"payload": {"transactions": [transaction(kind)]}}
        facts = Vendor(transactions=told).build().read_payment("", ID)
        assert isinstance(facts, PaymentFacts)
        assert bool(facts.refunds) is counts

    @pytest.mark.parametrize(
        "broken",
        [
            {"breakdowns": None},
            {"postedDate": "soon"},
            {"transactionId": None},
            {"breakdowns": [part("ProductCharges", "-1.005")]},
            {"totalAmount": {"currencyAmount": -1, "currencyCode": "EUR"}},
        ],
    )
    def test_a_refund_that_cannot_be_read_is_never_left_out(self, broken: dict[str, Any]) -> None:
        told = {"payload": {"transactions": [transaction(**broken)]}}
        assert isinstance(Vendor(transactions=told).build().read_payment("", ID), Unknown)

    def test_all_pages_are_read_empty_ones_too(self) -> None:
        pages = [
            answer(200, {"order": order()}),
            answer(200, {"payload": {"transactions": [], "nextToken": "more"}}),
            answer(200, {"payload": {"transactions": [transaction()]}}),
        ]
        http = FakeHttp(*pages)
        facts = Amazon(http, http, "A3PRACTICE", ("M",)).read_payment("", ID)
        assert isinstance(facts, PaymentFacts)
        assert facts.refunded == 3300
        assert ("nextToken", "more") in http.requests[-1].params
        assert ("relatedIdentifierValue", ID) in http.requests[-1].params

    def test_what_amazon_fulfils_amazon_refunds(self) -> None:
        facts = Vendor(order={"order": order(by="AMAZON")}).build().read_payment("", ID)
        assert isinstance(facts, PaymentFacts)
        assert "Amazon fulfils" in facts.refund_refusal


class TestRefund:
    def test_it_looks_at_order_money_and_feeds_before_the_one_call_that_acts(self) -> None:
        vendor = Vendor()
        assert vendor.build().refund(refund()) == Pending("F9", 300.0)
        assert vendor.asked == ["order", "transactions", "feeds", "document", "upload", "create"]
        feeds = dict(vendor.http.requests[2].params)
        assert feeds == {"feedTypes": REFUND_FEED, "pageSize": "100", "createdSince": "2026-11-25T11:45:00Z"}
        upload = vendor.http.requests[4]
        assert (upload.path, dict(upload.headers)) == (URL, {"Content-Type": "text/xml; charset=UTF-8"})

    def test_the_message_says_every_part_in_the_schemas_order(self) -> None:
        vendor = Vendor()
        vendor.build().refund(refund())
        step = refund().step_key
        assert vendor.uploaded == (
            '<?xml version="1.0" encoding="UTF-8"?>\n<AmazonEnvelope><Header><DocumentVersion>1.01</DocumentVersion>'
            "<MerchantIdentifier>A3PRACTICE</MerchantIdentifier></Header><MessageType>OrderAdjustment</MessageType>"
            f"<Message><MessageID>{OURS}</MessageID><OrderAdjustment><AmazonOrderID>{ID}</AmazonOrderID>"
            "<ActionType>Refund</ActionType><AdjustedItem><AmazonOrderItemCode>10000000000001</AmazonOrderItemCode>"
            f"<MerchantAdjustmentItemID>{step}-1</MerchantAdjustmentItemID><AdjustmentReason>CustomerReturn</AdjustmentReason>"
            '<ItemPriceAdjustments><Component><Type>Principal</Type><Amount currency="USD">29.00</Amount></Component>'
            '<Component><Type>Shipping</Type><Amount currency="USD">4.00</Amount></Component></ItemPriceAdjustments>'
            "</AdjustedItem></OrderAdjustment></Message></AmazonEnvelope>\n"
        )

    def test_lines_get_their_own_share_and_the_others_nothing(self) -> None:
        items = [item("10000000000001", tax=None), item("10000000000002", tax=None)]
        vendor = Vendor(order={"order": order(orderItems=items)})
        said = vendor.build().refund(refund(1590, is_whole=False, lines=(LineQuantity("10000000000002", 1),)))
        assert isinstance(said, Pending)
        assert vendor.uploaded.count("<AdjustedItem>") == 1
        assert "<AmazonOrderItemCode>10000000000002<" in vendor.uploaded
        assert '<Type>Principal</Type><Amount currency="USD">14.50<' in vendor.uploaded
        assert '<Type>Tax</Type><Amount currency="USD">1.40<' in vendor.uploaded

    def test_an_amount_alone_is_taken_from_the_prices_first(self) -> None:
        vendor = Vendor()
        vendor.build().refund(refund(500, is_whole=False))
        assert vendor.uploaded.count("<Component>") == 1
        assert '<Type>Principal</Type><Amount currency="USD">5.00<' in vendor.uploaded

    def test_what_amazon_collected_as_tax_is_never_named(self) -> None:
        vendor = Vendor()
        said = vendor.build().refund(refund(3580))
        assert isinstance(said, Permanent)
        assert said.code == "refundable_exceeded"
        assert vendor.feeds_made == 0

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (order("UNSHIPPED"), "not_charged"),
            (order("PENDING"), "not_charged"),
            (order("CANCELLED"), "not_charged"),
            (order(by="AMAZON"), "fulfilled_by_amazon"),
        ],
    )
    def test_what_cannot_be_refunded_is_never_written_to(self, value: Any, code: str) -> None:
        vendor = Vendor(order={"order": value})
        said = vendor.build().refund(refund())
        assert isinstance(said, Permanent)
        assert said.code == code
        assert vendor.asked == ["order", "transactions"]

    @pytest.mark.parametrize(
        ("told", "minor", "code"),
        [
            (transaction(amount="-5.00"), 3300, "amount_mismatch"),
            (transaction(amount="-5.00", postedDate="2026-11-22T00:00:00Z"), 3300, "refundable_exceeded"),
            (transaction(amount="-5.00", postedDate="2026-11-22T00:00:00Z"), 2800, None),
            (transaction(), 3300, AlreadyDone),
        ],
    )
    def test_whatever_went_back_is_reckoned_with(self, told: Any, minor: int, code: Any) -> None:
        vendor = Vendor(transactions={"payload": {"transactions": [told]}})
        said = vendor.build().refund(refund(minor))
        if code is None:
            assert isinstance(said, Pending)
            return
        assert vendor.feeds_made == 0
        assert isinstance(said, AlreadyDone) if code is AlreadyDone else getattr(said, "code", said) == code

    def test_another_currency_is_refused(self) -> None:
        vendor = Vendor()
        said = vendor.build().refund(refund(amount=Money(3300, "EUR")))
        assert getattr(said, "code", "") == "currency_mismatch"
        assert vendor.feeds_made == 0

    @pytest.mark.parametrize(
        ("feeds", "told", "is_sent"),
        [
            ([], b"", True),
            ([feed(status="CANCELLED")], b"", True),
            ([feed()], report(0, (("77", "1", "another order"),)), True),
            ([feed()], report(0, ((OURS, "1", "an earlier no"),)), True),
            ([feed(ago_h=73)], report(), True),
            ([feed(ago_h=71)], report(), False),
            ([feed()], report(), False),
            ([feed()], b"<html>", False),
            ([feed()], report(1, (("77", "1", "one of two"),)), False),
            ([feed(status="IN_QUEUE")], b"", False),
            ([feed(status="IN_PROGRESS", ago_h=200)], b"", False),
            ([feed(status="FATAL")], b"", False),
            ([feed("F1", status="CANCELLED"), feed("F2")], report(), False),
        ],
    )
    def test_a_feed_that_may_be_ours_stops_it(self, feeds: list[Any], told: bytes, is_sent: bool) -> None:
        vendor = Vendor(feeds={"feeds": feeds}, report=answer(200, told))
        said = vendor.build().refund(refund())
        assert isinstance(said, Pending if is_sent else Unknown)
        assert vendor.feeds_made == int(is_sent)

    def test_shops_with_many_refunds_may_rely_on_their_own_rows(self) -> None:
        vendor = Vendor(feeds={"feeds": [feed()]})
        assert isinstance(vendor.build(is_concurrent=True).refund(refund()), Pending)
        assert "feeds" not in vendor.asked

    @pytest.mark.parametrize("stage", ["order", "transactions", "feeds", "document", "upload"])
    @pytest.mark.parametrize(
        "trouble",
        [MaybeSentError("reset"), answer(500, ""), answer(503, {"errors": [{"code": "X", "message": "y"}]})],
        ids=["cut", "500", "503"],
    )
    def test_before_the_last_call_nothing_has_happened(self, stage: str, trouble: Any) -> None:
        vendor = Vendor(**{stage: trouble})
        said = vendor.build().refund(refund())
        assert isinstance(said, Retryable), said
        assert vendor.feeds_made == 0

    @pytest.mark.parametrize(
        ("told", "kind"),
        [
            (answer(202, {"feedId": "F9"}), Pending),
            (answer(400, {"errors": [{"code": "InvalidInput", "message": "no"}]}), Permanent),
            (answer(400, "<html>"), Unknown),
            (answer(403, {"errors": [{"code": "Unauthorized", "message": "no"}]}), Retryable),
            (answer(429, {"errors": [{"code": "QuotaExceeded", "message": "no"}]}), Retryable),
            (answer(500, {"errors": [{"code": "InternalFailure", "message": "no"}]}), Unknown),
            (answer(503, {"errors": [{"code": "ServiceUnavailable", "message": "no"}]}), Unknown),
            (answer(502, "<html>"), Unknown),
            (answer(202, {}), Unknown),
            (answer(200, {"feedId": "F9"}), Unknown),
        ],
    )
    def test_the_last_call_is_believed_only_where_it_is_explicit(self, told: Response, kind: type) -> None:
        vendor = Vendor(create=told)
        assert isinstance(vendor.build().refund(refund()), kind)
        assert vendor.feeds_made == 1

    def test_an_old_look_is_not_acted_on(self) -> None:
        times = iter([NOW, NOW + timedelta(seconds=46), NOW])
        vendor = Vendor()
        said = vendor.build(is_concurrent=True, now=lambda: next(times)).refund(refund())
        assert isinstance(said, Retryable)
        assert vendor.feeds_made == 0


class TestFindRefund:
    def find(self, transactions: list[Any] | None = None, **answers: Any) -> tuple[Any, Vendor]:
        told = {"payload": {"transactions": transactions or []}}
        vendor = Vendor(transactions=told, **answers)
        return vendor.build().find_refund(refund()), vendor

    def test_the_finances_have_the_last_word(self) -> None:
        found, vendor = self.find([transaction()])
        assert found == Done("T1")
        assert vendor.asked == ["transactions"]

    def test_two_of_them_are_said(self) -> None:
        found, _ = self.find([transaction(), transaction(transactionId="T2")])
        assert found == Done("T1", "also refunded: 33.00 USD as T2")

    def test_another_amount_since_then_is_a_persons(self) -> None:
        found, _ = self.find([transaction(amount="-30.00")])
        assert isinstance(found, Permanent)
        assert found.code == "amount_mismatch"

    def test_what_went_back_before_the_case_is_not_ours(self) -> None:
        found, _ = self.find([transaction(postedDate="2026-11-25T11:00:00Z")])
        assert isinstance(found, NotFound)

    def test_no_feed_proves_that_none_was_made_after_the_lists_lag(self) -> None:
        found, vendor = self.find()
        assert isinstance(found, NotFound)
        assert found.conclusive_after_s == 1800.0
        assert found.conclusive_until_s == 80 * 86_400
        assert vendor.asked == ["transactions", "feeds"]

    @pytest.mark.parametrize(
        ("feeds", "told", "kind"),
        [
            ([feed(status="IN_QUEUE")], b"", Unknown),
            ([feed()], report(), Unknown),
            ([feed(ago_h=71)], report(), Unknown),
            ([feed(status="FATAL")], b"", Unknown),
            ([feed()], report(0, (("77", "1", "another's"),)), NotFound),
            ([feed(status="CANCELLED")], b"", NotFound),
            ([feed()], report(0, ((OURS, "18028", "not eligible"),)), Permanent),
            ([feed()], report(1, ((OURS, "18028", "not eligible"),)), Unknown),
        ],
    )
    def test_feeds(self, feeds: list[Any], told: bytes, kind: type) -> None:
        found, _ = self.find(feeds={"feeds": feeds}, report=answer(200, told))
        assert isinstance(found, kind), found
        if isinstance(found, NotFound):
            assert found.conclusive_after_s == 1800.0
        if isinstance(found, Permanent):
            assert found == Permanent("18028", "feed F1: not eligible")

    def test_an_accepted_feed_that_never_shows_is_a_persons_and_never_sent_again(self) -> None:
        found, _ = self.find(feeds={"feeds": [feed(ago_h=73)]})
        assert isinstance(found, NotFound)
        assert found.conclusive_after_s is None

    def test_a_no_to_an_earlier_key_is_not_a_no_to_this_one(self) -> None:
        told = report(0, ((OURS, "18028", "not eligible"),))
        vendor = Vendor(feeds={"feeds": [feed()]}, report=answer(200, told))
        found = vendor.build().find_refund(refund(attempt=2))
        assert isinstance(found, NotFound)

    def test_only_the_newest_reports_are_read_and_the_rest_may_be_ours(self) -> None:
        feeds = {"feeds": [feed(f"F{n}", ago_h=n) for n in range(1, 6)]}
        told = report(0, (("77", "1", "another's"),))
        found, vendor = self.find(feeds=feeds, report=answer(200, told))
        assert isinstance(found, Unknown)
        assert "F4" in found.reason
        assert "F1" not in found.reason
        assert vendor.asked.count("report") == 3

    def test_all_pages_of_feeds_are_read_and_the_token_stands_alone(self) -> None:
        http = FakeHttp(
            answer(200, {"payload": {"transactions": []}}),
            answer(200, {"feeds": [], "nextToken": "more"}),
            answer(200, {"feeds": [feed(status="IN_QUEUE")]}),
        )
        found = Amazon(http, http, "A3PRACTICE", ("M",), now=lambda: NOW).find_refund(refund())
        assert isinstance(found, Unknown)
        assert http.requests[-1].params == [("nextToken", "more")]

    def test_a_list_without_end_is_no_proof(self) -> None:
        found, _ = self.find(feeds={"feeds": [], "nextToken": "more"})
        assert isinstance(found, Unknown)

    @pytest.mark.parametrize("broken", [{"createdTime": "x"}, {"feedId": None}, {"processingStatus": None}])
    def test_a_feed_that_cannot_be_read_is_no_proof(self, broken: dict[str, Any]) -> None:
        found, _ = self.find(feeds={"feeds": [{**feed(), **broken}]})
        assert isinstance(found, Unknown)

    @pytest.mark.parametrize(
        "stage", [{"transactions": answer(500, "")}, {"feeds": answer(429, "")}, {"feeds": answer(404, "{}")}]
    )
    def test_a_look_without_an_answer_is_no_proof(self, stage: dict[str, Any]) -> None:
        found = Vendor(**stage).build().find_refund(refund())
        assert isinstance(found, Unknown | Retryable)

    def test_judgement_by_itself(self) -> None:
        clean = Looked(Feed("F1", "DONE", NOW, NOW, "R"), Report(1, ()))
        assert isinstance(judge_refund_feeds([clean], refund(), NOW), Unknown)
        late = NOW + timedelta(hours=73)
        found = judge_refund_feeds([clean], refund(), late)
        assert isinstance(found, NotFound)
        assert found.conclusive_after_s is None
        assert unexplained([clean], refund(), late) == []
        assert unexplained([clean], refund(), NOW) == [clean]


class TestReport:
    def test_packed_and_plain(self) -> None:
        told = report(0, (("5", "5000", "malformed"),))
        expected = Report(0, (("5", "5000", "malformed"),))
        assert read_report(told) == expected
        assert read_report(gzip.compress(told), is_packed=True) == expected

    @pytest.mark.parametrize(
        ("content", "is_packed"),
        [
            (b"", False),
            (b"<html>", False),
            (b"not packed", True),
            (b"\x1f\x8b\x08\x00broken", True),
            (b"<AmazonEnvelope/>", False),
            (report(more='<!DOCTYPE x [<!ENTITY a "b">]>'), False),
            (in_utf16(report(more='<!DOCTYPE x [<!ENTITY a "b">]>')), False),
            (report().replace(b"<MessagesSuccessful>1<", b"<MessagesSuccessful>one<"), False),
        ],
    )
    def test_what_is_no_report_says_nothing(self, content: bytes, is_packed: bool) -> None:
        assert read_report(content, is_packed=is_packed) is None

    def test_message_ids_are_stable_and_differ_by_key(self) -> None:
        assert message_id("refundflow:RF-00K3ZQ4M7ABCDEF.refund.1:1") == message_id(
            "refundflow:RF-00K3ZQ4M7ABCDEF.refund.1:1"
        )
        assert len({message_id(f"refundflow:x.refund.1:{n}") for n in range(100)}) == 100
        assert all(0 < int(message_id(f"k{n}")) <= 2**48 for n in range(100))


# ---------------------------------------------------------------- refusals, the token


class TestFailures:
    @pytest.mark.parametrize(
        ("response", "kind", "code"),
        [
            (answer(400, {"errors": [{"code": "InvalidInput", "message": "no"}]}), Permanent, "InvalidInput"),
            (answer(404, {"errors": [{"code": "NotFound", "message": "no"}]}), Permanent, "NotFound"),
            (answer(413, {"errors": [{"code": "TooLarge", "message": "no"}]}), Permanent, "TooLarge"),
            (answer(415, {"errors": [{"code": "Unsupported", "message": "no"}]}), Permanent, "Unsupported"),
            (answer(401, ""), Retryable, "unauthorised"),
            (answer(403, "<html>"), Retryable, "unauthorised"),
            (answer(429, ""), Retryable, "throttled"),
            (answer(500, ""), Retryable, "unavailable"),
            (answer(503, "<html>"), Retryable, "unavailable"),
            (answer(400, "<html>"), Unknown, ""),
            (answer(200, "<html>"), Unknown, ""),
            (answer(418, {"errors": [{"code": "Teapot", "message": "no"}]}), Unknown, ""),
            (
                answer(400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"}),
                Permanent,
                "QueueDoesNotExist",
            ),
        ],
    )
    def test_table(self, response: Response, kind: type, code: str) -> None:
        said = read_failure(response)
        assert isinstance(said, kind)
        assert getattr(said, "code", "") == code

    @pytest.mark.parametrize(
        ("headers", "after_s"),
        [
            ({"Retry-After": "7", "x-amzn-RateLimit-Limit": "0.5"}, 7.0),
            ({"x-amzn-RateLimit-Limit": "0.5"}, 2.0),
            ({"x-amzn-RateLimit-Limit": "0.0001"}, 900.0),
            ({"x-amzn-RateLimit-Limit": "0"}, None),
            ({"x-amzn-RateLimit-Limit": "soon"}, None),
            ({}, None),
        ],
    )
    def test_the_rate_says_when_the_next_call_is_free(
        self, headers: dict[str, str], after_s: float | None
    ) -> None:
        said = read_failure(answer(429, "", headers))
        assert isinstance(said, Retryable)
        assert said.after_s == after_s

    def test_a_spent_token_is_fetched_anew_once(self) -> None:
        spent = answer(
            403,
            {
                "errors": [
                    {
                        "code": "Unauthorized",
                        "message": "no",
                        "details": "The access token you provided has expired.",
                    }
                ]
            },
        )
        tokens = FixedTokens()
        http = FakeHttp(spent, answer(200, {"feeds": []}))
        assert amazon.FreshHttp(http, tokens).send(Request("GET", "/x", "x")).status == 200
        assert tokens.forgotten == ["practice-token"]
        assert amazon.FreshHttp(FakeHttp(spent, spent), tokens).send(Request("GET", "/x", "x")).status == 403

    def test_a_missing_role_is_not_the_tokens_fault(self) -> None:
        tokens = FixedTokens()
        http = FakeHttp(
            answer(403, {"errors": [{"code": "Unauthorized", "message": "Access denied", "details": ""}]})
        )
        assert amazon.FreshHttp(http, tokens).send(Request("GET", "/x", "x")).status == 403
        assert tokens.forgotten == []

    def test_the_token_is_fetched_as_the_seller_authorised_it_and_shared(self) -> None:
        wire = FakeWire()
        build(CREDENTIALS, wire)
        (request,) = wire.token_requests
        assert dict(request.form or ()) == {
            "grant_type": "refresh_token",
            "refresh_token": "Atzr|practice",
            "client_id": "client",
            "client_secret": "practice-client-secret",
        }
        assert [made["base_url"] for made in wire.made] == [
            "https://api.amazon.com/auth/o2/token",
            SPEC.base_url,
            SPEC.base_url,
        ]
        with_tokens = [made for made in wire.made if made["tokens"] is not None]
        assert len(with_tokens) == 1
        assert (with_tokens[0]["token_header"], with_tokens[0]["token_format"]) == (
            "x-amz-access-token",
            "{}",
        )

    @pytest.mark.parametrize(
        "wrong",
        [
            {"seller_id": "me"},
            {"marketplace_ids": " , "},
            {"is_stock_pushed": "maybe"},
            {"concurrent_refunds": "1"},
            {"queue_url": "https://sqs.us-east-1.amazonaws.com/1/q"},
            {
                "queue_url": "https://queue.example/1/q",
                "aws_access_key_id": "AKIA",
                "aws_secret_access_key": Secret("s3cret-s3cret"),
            },
        ],
    )
    def test_settings_that_cannot_work_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong)) + "|aws_region"):
            replace(CREDENTIALS, **wrong)


# ---------------------------------------------------------------- polling


def found_order(status: str = "UNSHIPPED", *requested: bool) -> dict[str, Any]:
    asked = {"cancellationRequest": {"requester": "BUYER", "cancelReason": "changed my mind"}}
    items = [
        {
            "orderItemId": f"1000000000000{n}",
            "quantityOrdered": n,
            "product": {},
            **({"cancellation": asked} if is_requested else {}),
        }
        for n, is_requested in enumerate(requested or (False,), start=1)
    ]
    return {"orderId": ID, "fulfillment": {"fulfillmentStatus": status}, "orderItems": items}


def changed(status: str = "Unshipped", *requested: bool, network: str = "MFN") -> str:
    items = [
        {"OrderItemId": f"1000000000000{n}", "Quantity": n, "IsBuyerRequestedCancel": is_requested}
        for n, is_requested in enumerate(requested or (False,), start=1)
    ]
    summary = {
        "OrderStatus": status,
        "FulfillmentType": network,
        "OrderItems": items,
        "DestinationPostalCode": "48110",
    }
    return json.dumps(
        {
            "NotificationType": "ORDER_CHANGE",
            "Payload": {"OrderChangeNotification": {"AmazonOrderId": ID, "Summary": summary}},
            "NotificationMetadata": {"NotificationId": "n-1"},
        }
    )


def looked(http: FakeHttp, cursor: str = "", at: datetime = NOW) -> Polled:
    found = Amazon(http, http, "A3PRACTICE", ("M1", "M2"), now=lambda: at).poll(cursor, at)
    assert isinstance(found, Polled), found
    return found


class TestPoll:
    def test_it_begins_a_day_back_with_the_orders_and_goes_on_with_the_money(self) -> None:
        until = (NOW - timedelta(minutes=2)).isoformat()
        http = FakeHttp(
            answer(200, {"orders": [], "lastUpdatedBefore": until}),
            answer(200, {"payload": {"transactions": []}}),
        )
        first = looked(http)
        assert first.has_more
        second = looked(http, first.cursor)
        assert not second.has_more
        assert [dict(r.params) for r in http.requests] == [
            {
                "lastUpdatedAfter": "2026-11-24T11:30:00Z",
                "marketplaceIds": "M1,M2",
                "fulfilledBy": "MERCHANT",
                "includedData": "CANCELLATION,FULFILLMENT",
                "maxResultsPerPage": "100",
            },
            {"postedAfter": "2026-11-21T12:00:00Z"},
        ]
        at = read_cursor(second.cursor, NOW)
        assert at.orders.since == at.money.since == NOW - timedelta(minutes=2)

    def test_nothing_due_sends_nothing(self) -> None:
        http = FakeHttp(answer(200, {"orders": []}), answer(200, {"payload": {"transactions": []}}))
        done = looked(http, looked(http).cursor)
        again = looked(http, done.cursor, NOW + timedelta(minutes=3))
        assert again == Polled((), done.cursor)
        assert len(http.requests) == 2

    def test_orders_are_searched_every_few_minutes_with_half_an_hour_of_overlap(self) -> None:
        http = FakeHttp(
            answer(200, {"orders": []}),
            answer(200, {"payload": {"transactions": []}}),
            answer(200, {"orders": []}),
        )
        done = looked(http, looked(http).cursor)
        looked(http, done.cursor, NOW + timedelta(minutes=4))
        assert dict(http.requests[-1].params)["lastUpdatedAfter"] == "2026-11-25T11:28:00Z"

    def test_pages_keep_their_criteria_and_the_window_moves_after_the_last(self) -> None:
        http = FakeHttp(
            answer(
                200,
                {
                    "orders": [],
                    "pagination": {"nextToken": "p2"},
                    "lastUpdatedBefore": "2026-11-25T11:58:00Z",
                },
            ),
            answer(200, {"orders": [], "lastUpdatedBefore": "2026-11-25T11:59:00Z"}),
        )
        first = looked(http)
        assert read_cursor(first.cursor, NOW).orders.since == NOW - timedelta(days=1)
        second = looked(http, first.cursor, NOW + timedelta(minutes=1))
        one, two = (dict(r.params) for r in http.requests)
        assert two == {**one, "paginationToken": "p2"}
        # What changed after the first page's moment may have missed every page.
        assert read_cursor(second.cursor, NOW).orders.since == datetime(2026, 11, 25, 11, 58, tzinfo=UTC)

    def test_a_page_token_that_is_refused_begins_the_window_anew(self) -> None:
        http = FakeHttp(
            answer(200, {"orders": [], "pagination": {"nextToken": "p2"}}),
            answer(400, {"errors": [{"code": "InvalidInput", "message": "token"}]}),
        )
        first = looked(http)
        second = looked(http, first.cursor)
        at = read_cursor(second.cursor, NOW)
        assert (at.orders.page, at.orders.since) == ("", NOW - timedelta(days=1))
        assert second.has_more

    @pytest.mark.parametrize(
        ("value", "source_event_id", "lines"),
        [
            (found_order("UNSHIPPED", True), f"cancel-requested:{ID}", []),
            (found_order("PENDING", True, True), f"cancel-requested:{ID}", []),
            (
                found_order("UNSHIPPED", False, True),
                f"cancel-requested:{ID}:10000000000002",
                [["10000000000002", 2]],
            ),
            (found_order("CANCELLED", True), f"cancelled:{ID}", None),
            (found_order("SHIPPED", True), "", None),
            (found_order("UNSHIPPED", False), "", None),
        ],
    )
    def test_news_of_orders(self, value: Any, source_event_id: str, lines: Any) -> None:
        found = looked(FakeHttp(answer(200, {"orders": [value]}))).events
        assert [event.source_event_id for event in found] == ([source_event_id] if source_event_id else [])
        if lines is not None:
            body = json.loads(found[0].body)
            assert (body["order_id"], body["lines"], body["reason"]) == (ID, lines, "changed my mind")

    @pytest.mark.parametrize(
        ("polled", "told"),
        [
            (found_order("UNSHIPPED", True), changed("Unshipped", True)),
            (found_order("UNSHIPPED", False, True), changed("Unshipped", False, True)),
            (found_order("CANCELLED"), changed("Canceled")),
        ],
    )
    def test_the_same_news_has_one_id_whichever_way_it_came(self, polled: Any, told: str) -> None:
        (by_search,) = looked(FakeHttp(answer(200, {"orders": [polled]}))).events
        by_queue = read_notification(told, "m-1")
        assert by_queue is not None
        assert (by_queue.source_event_id, by_queue.topic) == (by_search.source_event_id, by_search.topic)
        assert b"48110" not in by_queue.body

    def test_a_refund_has_one_id_whichever_way_it_came(self) -> None:
        at = read_cursor("", NOW)
        swept = amazon.read_money_page(
            answer(200, {"payload": {"transactions": [transaction(), transaction("Shipment", "33.00")]}}),
            at,
            NOW,
        )
        assert isinstance(swept, amazon.Brought)
        (by_sweep,) = swept.events
        told = {
            "NotificationType": "TRANSACTION_UPDATE",
            "Payload": {
                "TransactionUpdateNotification": {
                    "TransactionType": "Refund",
                    "PostedDate": "2026-11-25T13:00:00.000Z",
                    "TotalAmount": {"CurrencyAmount": -33, "CurrencyCode": "USD"},
                    "RelatedIdentifiers": [
                        {"RelatedIdentifierName": "OrderId", "RelatedIdentifierValue": ID}
                    ],
                }
            },
        }
        by_queue = read_notification(json.dumps(told), "m-1")
        assert by_queue == by_sweep
        assert by_sweep.source_event_id == f"refund:{ID}:1795611600:-33"

    @pytest.mark.parametrize(
        "text",
        [
            changed("Unshipped", True, network="AFN"),
            changed("Shipped", True),
            json.dumps({"notificationType": "FEED_PROCESSING_FINISHED", "payload": {}}),
            json.dumps(
                {
                    "NotificationType": "TRANSACTION_UPDATE",
                    "Payload": {"TransactionUpdateNotification": {"TransactionType": "Shipment"}},
                }
            ),
        ],
    )
    def test_what_asks_nothing_of_us_is_passed_over(self, text: str) -> None:
        assert read_notification(text, "m-1") is None

    @pytest.mark.parametrize(
        "text", ["", "<html>", "[]", '{"NotificationType": "ORDER_CHANGE"}', '{"NotificationType": "NEW"}']
    )
    def test_what_cannot_be_read_is_kept_for_a_person(self, text: str) -> None:
        event = read_notification(text, "m-1")
        assert event is not None
        assert (event.source_event_id, event.topic) == ("unreadable:m-1", UNREADABLE)
        with pytest.raises(MalformedError):
            AmazonInbound().read_event(event.topic, event.body)

    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "x",
            "{}",
            '{"orders": {"since": "x"}}',
            '{"orders": {"since": "2030-01-01T00:00:00+00:00"}}',
            "[1]",
        ],
    )
    def test_what_is_no_cursor_begins_a_day_back(self, cursor: str) -> None:
        at = read_cursor(cursor, NOW)
        assert at.orders.since == at.money.since == NOW - timedelta(days=1)
        assert at.handles == ()

    def test_a_cursor_survives_its_text(self) -> None:
        at = replace(read_cursor("", NOW), handles=("h1",), drained=NOW)
        assert read_cursor(at.text, NOW) == at

    @pytest.mark.parametrize(
        "response", [answer(429, ""), answer(500, ""), answer(200, "{}"), answer(200, {"orders": [{}]})]
    )
    def test_an_answer_that_says_nothing_leaves_the_cursor_where_it_was(self, response: Response) -> None:
        http = FakeHttp(response)
        assert isinstance(Amazon(http, http, "A3PRACTICE", ("M",)).poll("", NOW), Retryable | Unknown)


AWS = {"Content-Type": "application/x-amz-json-1.0"}


def queued(*answers: Response) -> tuple[Amazon, FakeHttp]:
    http = FakeHttp(*answers)
    queue = amazon.Queue(
        http,
        "https://sqs.us-east-1.amazonaws.com/1/q",
        "https://sqs.us-east-1.amazonaws.com",
        "us-east-1",
        "AKIA",
        Secret("s3cret-s3cret"),
    )
    return Amazon(http, http, "A3PRACTICE", ("M",), queue), http


def message(text: str, name: str = "m-1") -> dict[str, str]:
    return {"MessageId": name, "ReceiptHandle": f"h-{name}", "Body": text}


class TestQueue:
    def test_a_message_is_deleted_by_the_look_after_the_one_that_brought_it(self) -> None:
        connector, http = queued(
            answer(200, {"Messages": [message(changed("Unshipped", True))]}, AWS),
            answer(200, "", AWS),
            answer(200, {}, AWS),
        )
        first = connector.poll("", NOW)
        assert isinstance(first, Polled)
        assert [event.source_event_id for event in first.events] == [f"cancel-requested:{ID}"]
        assert first.has_more
        assert len(http.requests) == 1
        second = connector.poll(first.cursor, NOW)
        assert isinstance(second, Polled)
        assert second.events == ()
        assert [r.headers["X-Amz-Target"] for r in http.requests] == [
            "AmazonSQS.ReceiveMessage",
            "AmazonSQS.DeleteMessage",
            "AmazonSQS.ReceiveMessage",
        ]
        assert json.loads(http.requests[1].body or b"") == {
            "QueueUrl": "https://sqs.us-east-1.amazonaws.com/1/q",
            "ReceiptHandle": "h-m-1",
        }
        at = read_cursor(second.cursor, NOW)
        assert (at.handles, at.drained) == ((), NOW)
        assert at.due(NOW, has_queue=True) == "orders"
        assert at.due(NOW + timedelta(minutes=1), has_queue=True) == "queue"

    def test_a_look_that_fails_deletes_nothing_that_was_not_stored(self) -> None:
        connector, http = queued(answer(500, "", AWS))
        assert isinstance(connector.poll("", NOW), Retryable)
        assert len(http.requests) == 1

    def test_a_handle_that_is_too_old_is_passed_over(self) -> None:
        stale = {"__type": "com.amazonaws.sqs#ReceiptHandleIsInvalid", "message": "expired"}
        cursor = replace(read_cursor("", NOW), handles=("old",)).text
        connector, http = queued(answer(400, stale, AWS), answer(200, {}, AWS))
        assert isinstance(connector.poll(cursor, NOW), Polled)
        assert len(http.requests) == 2

    def test_a_refused_delete_leaves_the_handles(self) -> None:
        cursor = replace(read_cursor("", NOW), handles=("h1",)).text
        connector, http = queued(answer(403, {"__type": "x#AccessDenied", "message": "no"}, AWS))
        assert isinstance(connector.poll(cursor, NOW), Retryable)
        assert len(http.requests) == 1

    @pytest.mark.parametrize(
        "response",
        [answer(200, {}), answer(200, "<html>", AWS), answer(200, {"Messages": [{"Body": "x"}]}, AWS)],
    )
    def test_an_empty_object_is_an_empty_queue_only_from_sqs(self, response: Response) -> None:
        connector, _ = queued(response)
        assert isinstance(connector.poll("", NOW), Unknown)

    def test_a_request_is_signed_over_host_and_every_amz_header(self) -> None:
        request = queue_request(
            "ReceiveMessage",
            {"QueueUrl": "q"},
            endpoint="https://sqs.us-east-1.amazonaws.com",
            region="us-east-1",
            key_id="AKIA",
            secret="s3cret",
            at=NOW,
        )
        sent = dict(request.headers)
        signature = sign_v4(
            "s3cret",
            method="POST",
            path="/",
            headers={name: value for name, value in sent.items() if name != "Authorization"},
            body=b'{"QueueUrl":"q"}',
            date="20261125T120000Z",
            region="us-east-1",
            service="sqs",
        )
        assert sent["Authorization"] == (
            "AWS4-HMAC-SHA256 Credential=AKIA/20261125/us-east-1/sqs/aws4_request, "
            f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={signature}"
        )
        assert (sent["Host"], request.body, request.path) == (
            "sqs.us-east-1.amazonaws.com",
            b'{"QueueUrl":"q"}',
            "/",
        )


class TestSignature:
    """The vendor's own vectors: the Signature Version 4 test suite, and the example of its documentation."""

    SECRET: ClassVar = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    SUITE: ClassVar = {"Host": "example.amazonaws.com", "X-Amz-Date": "20150830T123600Z"}

    def sign(self, **changes: Any) -> str:
        given = {
            "method": "GET",
            "path": "/",
            "headers": self.SUITE,
            "body": b"",
            "date": "20150830T123600Z",
            "region": "us-east-1",
            "service": "service",
            **changes,
        }
        return sign_v4(self.SECRET, **given)

    def test_get_vanilla(self) -> None:
        assert self.sign() == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"

    def test_post_vanilla(self) -> None:
        assert self.sign(method="POST") == "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"

    def test_list_users(self) -> None:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Host": "iam.amazonaws.com",
            "X-Amz-Date": "20150830T123600Z",
        }
        said = self.sign(headers=headers, service="iam", query="Action=ListUsers&Version=2010-05-08")
        assert said == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"

    @pytest.mark.parametrize(
        "changes",
        [
            {"body": b"x"},
            {"path": "/x"},
            {"region": "eu-west-1"},
            {"service": "sqs"},
            {"date": "20150831T123600Z"},
            {"headers": {**SUITE, "X-Amz-Target": "AmazonSQS.DeleteMessage"}},
        ],
    )
    def test_whatever_is_changed_changes_it(self, changes: dict[str, Any]) -> None:
        assert self.sign(**changes) != self.sign()

    def test_the_order_of_headers_does_not(self) -> None:
        assert self.sign(headers=dict(reversed(self.SUITE.items()))) == self.sign()


# ---------------------------------------------------------------- what was polled


class TestInbound:
    def test_every_delivery_by_http_is_refused(self) -> None:
        for delivery in (Delivery({}, b""), Delivery({"authorization": "x"}, changed("Canceled").encode())):
            assert isinstance(AmazonInbound().verify(delivery, NOW), Refused)

    @pytest.mark.parametrize(
        ("topic", "body", "reading"),
        [
            (CANCELLED, {"order_id": ID}, OrderCancelledElsewhere(OrderRef("amazon", ID))),
            (REFUNDED, {"order_id": ID}, PaymentRefundsChanged("amazon", ID, OrderRef("amazon", ID))),
            (
                CANCEL_REQUESTED,
                {"order_id": ID, "lines": [], "reason": "changed my mind"},
                CancellationRequested(
                    OrderRef("amazon", ID), requested_by="amazon buyer", note="changed my mind"
                ),
            ),
            (
                CANCEL_REQUESTED,
                {"order_id": ID, "lines": [["10000000000002", 2]], "reason": ""},
                CancellationRequested(
                    OrderRef("amazon", ID),
                    lines=(LineQuantity("10000000000002", 2),),
                    requested_by="amazon buyer",
                ),
            ),
        ],
    )
    def test_readings(self, topic: str, body: Any, reading: Any) -> None:
        assert AmazonInbound().read_event(topic, json.dumps(body).encode()) == reading

    def test_other_topics_ask_nothing(self) -> None:
        assert isinstance(AmazonInbound().read_event("x", b""), Irrelevant)

    @pytest.mark.parametrize(
        ("topic", "body", "field"),
        [
            (CANCELLED, b"", "order_id"),
            (REFUNDED, b'{"order_id": "1"}', "order_id"),
            (CANCEL_REQUESTED, json.dumps({"order_id": ID, "lines": [["x"]]}).encode(), "lines[0]"),
            (CANCEL_REQUESTED, json.dumps({"order_id": ID, "lines": [["x", 0]]}).encode(), "lines[0]"),
            (UNREADABLE, b"x", "Payload"),
        ],
    )
    def test_half_a_request_is_never_the_whole_order(self, topic: str, body: bytes, field: str) -> None:
        with pytest.raises(MalformedError) as caught:
            AmazonInbound().read_event(topic, body)
        assert caught.value.field == field


def test_the_capabilities_are_these() -> None:
    assert set(SPEC.operations) == {
        Capability.READ_ORDER,
        Capability.QUOTE_LINES,
        Capability.CANCEL_ORDER,
        Capability.READ_PAYMENT,
        Capability.REFUND,
        Capability.CHECK,
        Capability.POLL,
        Capability.INBOUND,
    }
