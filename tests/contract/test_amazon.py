"""Amazon against its published description: what we send fits it, and so do the answers that our readers are tested on.

The feeds' own schemas are Amazon's and not to be copied: theirs were modelled as JSON from public documentation, so that a feed is
compared as the JSON that it stands for.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from refundflow.connectors import amazon
from refundflow.connectors.amazon import (
    SPEC,
    Credentials,
    Movement,
    Window,
    create_feed_request,
    document_request,
    feeds_request,
    more_feeds_request,
    new_document_request,
    order_request,
    read_created,
    read_feed,
    read_movements,
    read_notification,
    read_order_object,
    read_report,
    search_request,
    sweep_request,
    token_request,
    transactions_request,
)
from refundflow.connectors.base import Capability
from refundflow.domain.money import Money
from refundflow.domain.outcomes import Pending
from refundflow.settings import Secret
from refundflow.transport.base import Response, parse_json
from tests.support.commands import command_for
from tests.support.fake_http import answer
from tests.support.specs import check_document, check_request, check_response, load, specs

ID = "202-1234567-8901234"
AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CANCEL: Any = command_for(Capability.CANCEL_ORDER, {"order_id": ID})
REFUND: Any = command_for(
    Capability.REFUND,
    {"order_id": ID, "payment_reference": ID, "amount": Money(10_397, "GBP"), "is_whole": True},
)
ORDER, ORDERS = "/orders/2026-01-01/orders/{orderId}", "/orders/2026-01-01/orders"
FEEDS, DOCUMENTS = "/feeds/2021-06-30/feeds", "/feeds/2021-06-30/documents"
ONE_DOCUMENT = "/feeds/2021-06-30/documents/{feedDocumentId}"
TRANSACTIONS = "/finances/2024-06-19/transactions"
CREDENTIALS = Credentials(
    client_id="amzn1.application-oa2-client.x",
    client_secret=Secret("s3cret-s3cret"),
    refresh_token=Secret("Atzr|x"),
    seller_id="A3TH9S8BH6GOGM",
)
LISTS = ("Item", "AdjustedItem", "Component", "Message", "Result")
NUMBERS = ("MessageID", "MessagesProcessed", "MessagesSuccessful", "MessagesWithError")


@pytest.fixture
def folder() -> Path:
    return specs("amazon")


@pytest.fixture
def orders(folder: Path) -> Path:
    return folder / "orders_2026-01-01.json"


@pytest.fixture
def feeds(folder: Path) -> Path:
    return folder / "feeds_2021-06-30.json"


@pytest.fixture
def finances(folder: Path) -> Path:
    return folder / "finances_2024-06-19.json"


def published(orders: Path) -> dict[str, Any]:
    """The published example of an order."""
    told = load(orders)["paths"][ORDER]["get"]["responses"]["200"]["examples"]["application/json"]["order"]
    assert isinstance(told, dict)
    return told


def as_json(element: ElementTree.Element) -> Any:
    """An element as the JSON model of feeds has it."""
    if element.tag == "Amount":
        return {"currency": element.get("currency"), "value": element.text}
    if not len(element):
        return int(element.text or "") if element.tag in NUMBERS else element.text or ""
    out: dict[str, Any] = {}
    for child in element:
        if child.tag in LISTS:
            out.setdefault(child.tag, []).append(as_json(child))
        else:
            out[child.tag] = as_json(child)
    return out


def feed_as_json(document: bytes | object) -> Any:
    assert isinstance(document, bytes), document
    return as_json(ElementTree.fromstring(document))  # noqa: S314 (our own)


class TestWhatWeSend:
    def test_orders(self, orders: Path) -> None:
        check_request(orders, "GET", ORDER, order_request("read_order", ID))
        window = Window(AT, page="next")
        check_request(orders, "GET", ORDERS, search_request(("ATVPDKIKX0DER", "A2EUQ1WTGCTBG2"), window))

    def test_feeds(self, feeds: Path) -> None:
        check_request(feeds, "GET", FEEDS, feeds_request("find_refund", amazon.REFUND_FEED, AT))
        check_request(feeds, "GET", FEEDS, feeds_request("check", amazon.REFUND_FEED, None, page=1))
        check_request(feeds, "GET", FEEDS, more_feeds_request("find_refund", "next"))
        check_request(feeds, "POST", DOCUMENTS, new_document_request("refund"))
        check_request(feeds, "GET", ONE_DOCUMENT, document_request("find_refund", "amzn1.tortuga.4.na.x"))
        for kind in (amazon.REFUND_FEED, amazon.CANCEL_FEED):
            made = create_feed_request("refund", kind, "ATVPDKIKX0DER", "amzn1.tortuga.4.na.x")
            check_request(feeds, "POST", FEEDS, made)

    def test_transactions(self, finances: Path) -> None:
        check_request(finances, "GET", TRANSACTIONS, transactions_request("find_refund", ID, ""))
        check_request(finances, "GET", TRANSACTIONS, transactions_request("find_refund", ID, "next"))
        check_request(finances, "GET", TRANSACTIONS, sweep_request(Window(AT, page="next")))

    def test_the_token(self, folder: Path) -> None:
        schema = folder / "lwa-token.schema.json"
        check_document(schema, dict(token_request(CREDENTIALS).form or ()), "/$defs/request")

    def test_the_cancel_feed(self, folder: Path, orders: Path) -> None:
        order = read_order_object(published(orders))
        assert order is not None
        told = feed_as_json(amazon.cancel_feed(order, CANCEL, "A3TH9S8BH6GOGM"))
        check_document(folder / "order-acknowledgement.feed.schema.json", told)
        (message,) = told["Message"]
        (line,) = message["OrderAcknowledgement"]["Item"]
        assert line == {"AmazonOrderItemCode": "20212345678901", "CancelReason": "BuyerCanceled"}

    @pytest.mark.parametrize("reason", ["customer", "declined", "fraud", "inventory", "staff", "other"])
    def test_every_reason_is_one_of_amazons(self, folder: Path, orders: Path, reason: str) -> None:
        order = read_order_object(published(orders))
        assert order is not None
        cancel = command_for(Capability.CANCEL_ORDER, {"order_id": ID, "reason": reason})
        refund = command_for(Capability.REFUND, {"amount": Money(100, "GBP"), "reason": reason})
        check_document(
            folder / "order-acknowledgement.feed.schema.json",
            feed_as_json(amazon.cancel_feed(order, cancel, "A3TH9S8BH6GOGM")),  # type: ignore[arg-type] # by its capability
        )
        check_document(
            folder / "order-adjustment.feed.schema.json",
            feed_as_json(amazon.refund_feed(order, refund, "A3TH9S8BH6GOGM")),  # type: ignore[arg-type] # by its capability
        )

    def test_the_refund_feed_says_all_of_the_published_order(self, folder: Path, orders: Path) -> None:
        order = read_order_object(published(orders))
        assert order is not None
        told = feed_as_json(amazon.refund_feed(order, REFUND, "A3TH9S8BH6GOGM"))
        check_document(folder / "order-adjustment.feed.schema.json", told)
        (message,) = told["Message"]
        (adjusted,) = message["OrderAdjustment"]["AdjustedItem"]
        assert [(c["Type"], c["Amount"]["value"]) for c in adjusted["ItemPriceAdjustments"]["Component"]] == [
            ("Principal", "89.97"),
            ("Tax", "3.00"),
            ("Shipping", "10.00"),
            ("ShippingTax", "1.00"),
        ]

    def test_every_part_is_one_of_amazons(self, folder: Path) -> None:
        schema = load(folder / "order-adjustment.feed.schema.json")
        adjusted = schema["properties"]["Message"]["items"]["properties"]["OrderAdjustment"]["properties"]
        component = adjusted["AdjustedItem"]["items"]["properties"]["ItemPriceAdjustments"]["properties"]
        assert set(amazon._PARTS) <= set(component["Component"]["items"]["properties"]["Type"]["enum"])


class TestWhatWeRead:
    def test_the_published_order(self, orders: Path) -> None:
        value = published(orders)
        check_response(orders, "GET", ORDER, 200, {"order": value})
        order = read_order_object(value)
        assert order is not None
        assert (order.order_id, order.status, order.fulfilled_by) == (ID, "SHIPPED", "MERCHANT")
        assert order.total == Money(10_397, "GBP")
        assert order.items[0].parts == {"Principal": 8997, "Tax": 300, "Shipping": 1000, "ShippingTax": 100}
        assert order.is_on_its_way

    def test_every_order_of_the_static_sandbox_can_be_read(self, orders: Path) -> None:
        answers = load(orders)["paths"][ORDER]["get"]["responses"]["200"]["x-amzn-api-sandbox"]["static"]
        read = [read_order_object(each["response"]["order"]) for each in answers]
        assert read
        assert all(order is not None and order.total is not None for order in read)

    def test_every_search_of_the_static_sandbox_can_be_read(self, orders: Path) -> None:
        answers = load(orders)["paths"][ORDERS]["get"]["responses"]["200"]["x-amzn-api-sandbox"]["static"]
        assert answers
        for each in answers:
            found = amazon.read_orders_page(answer(200, each["response"]), amazon.read_cursor("", AT), AT)
            assert isinstance(found, amazon.Brought), found

    def test_statuses_are_all_of_them(self, orders: Path) -> None:
        described = load(orders)["definitions"]["FulfillmentStatus"]["enum"]
        assert set(described) == amazon._STATUSES

    def test_package_words_are_known(self, orders: Path) -> None:
        described = load(orders)["definitions"]["PackageStatus"]["properties"]["status"]["enum"]
        assert set(described) - {"PENDING", "CANCELLED"} == {
            "IN_TRANSIT",
            "SHIPPED",
            "DELIVERED",
            "UNDELIVERABLE",
        }

    def test_kinds_of_proceeds_are_known(self, orders: Path) -> None:
        described = load(orders)["definitions"]["ItemProceedsBreakdown"]["properties"]["type"]["description"]
        assert all(f"`{kind}`" in described for kind in (*amazon._PART_OF, "TAX", "DISCOUNT"))

    def test_feeds(self, feeds: Path) -> None:
        told = load(feeds)["paths"][FEEDS]["get"]["responses"]["200"]["x-amzn-api-sandbox"]["static"][0]
        (value,) = told["response"]["feeds"]
        feed = read_feed(value)
        assert feed is not None
        assert (feed.feed_id, feed.status) == ("FeedId1", "CANCELLED")
        described = load(feeds)["definitions"]["Feed"]["properties"]
        assert set(described["processingStatus"]["enum"]) == {
            "CANCELLED",
            "DONE",
            "FATAL",
            "IN_PROGRESS",
            "IN_QUEUE",
        }
        assert "resultFeedDocumentId" in described
        created = load(feeds)["paths"][FEEDS]["post"]["responses"]["202"]["x-amzn-api-sandbox"]["static"][0]
        assert read_created(answer(202, created["response"]), "D1") == Pending("3485934", 300.0)

    def test_a_transaction(self, finances: Path) -> None:
        example = load(finances)["definitions"]["Transaction"]["example"]
        # The example wraps its breakdowns once more than its own description says, and names a store that it does not allow.
        described = {**example, "breakdowns": example["breakdowns"]["breakdowns"], "contexts": []}
        body = {"payload": {"transactions": [described]}}
        check_response(finances, "GET", TRANSACTIONS, 200, body)
        for value in (example, described):
            told = read_movements([parse_json(json.dumps(value).encode())])
            assert isinstance(told, list)
            (moved,) = told
            assert isinstance(moved, Movement)
            assert (moved.is_refund, moved.amount) == (False, Money(1000, "USD"))
            assert moved.reference == "b1qD0oAliFkLiqRyGbmeT0DoS2Z2kHzi7TZ92z-vARI"

    def test_identifiers_are_named_as_described(self, finances: Path) -> None:
        described = load(finances)["definitions"]["RelatedIdentifier"]["properties"]["relatedIdentifierName"]
        assert {"ORDER_ID", "DEFERRED_TRANSACTION_ID", "RELEASE_TRANSACTION_ID"} <= set(described["enum"])

    def test_a_report(self, folder: Path) -> None:
        content = (
            b"<AmazonEnvelope><Message><MessageID>1</MessageID><ProcessingReport><DocumentTransactionID>1</DocumentTransactionID>"
            b"<StatusCode>Complete</StatusCode><ProcessingSummary><MessagesProcessed>1</MessagesProcessed>"
            b"<MessagesSuccessful>0</MessagesSuccessful><MessagesWithError>1</MessagesWithError></ProcessingSummary>"
            b"<Result><MessageID>7</MessageID><ResultCode>Error</ResultCode><ResultMessageCode>5000</ResultMessageCode>"
            b"<ResultDescription>malformed</ResultDescription></Result></ProcessingReport></Message></AmazonEnvelope>"
        )
        root = ElementTree.fromstring(content)  # noqa: S314 (our own)
        inner = next(root.iter("ProcessingReport"))
        check_document(folder / "feed-processing-report.schema.json", as_json(inner))
        report = read_report(content)
        assert report is not None
        assert (report.successful, report.errors) == (0, (("7", "5000", "malformed"),))

    @pytest.mark.parametrize("status", [400, 403, 404, 413, 415, 429, 500, 503])
    def test_refusals(self, orders: Path, feeds: Path, finances: Path, status: int) -> None:
        body = {"errors": [{"code": "InvalidInput", "message": "no", "details": ""}]}
        check_response(orders, "GET", ORDER, status, body)
        check_response(finances, "GET", TRANSACTIONS, status, body)
        if status != 413:
            check_response(feeds, "POST", FEEDS, status, body)
        assert status in amazon.ERRORS
        response: Response = answer(status, body)
        assert amazon._first_error(response) == ("InvalidInput", "no", "")

    def test_order_notifications(self, folder: Path) -> None:
        schema = folder / "notification.OrderChangeNotification.json"
        (example,) = load(schema)["examples"]
        check_document(schema, example)
        event = read_notification(json.dumps(example), "m-1")
        assert event is not None
        assert event.source_event_id == "cancel-requested:903-8868176-2219830"
        change = example["Payload"]["OrderChangeNotification"]
        change["Summary"]["OrderStatus"] = "Canceled"
        check_document(schema, example)
        event = read_notification(json.dumps(example), "m-1")
        assert event is not None
        assert event.source_event_id == "cancelled:903-8868176-2219830"

    def test_money_notifications(self, folder: Path) -> None:
        schema = folder / "notification.TransactionUpdateNotification.json"
        (example,) = load(schema)["examples"]
        assert read_notification(json.dumps(example), "m-1") is None  # a shipment's payment
        change = example["Payload"]["TransactionUpdateNotification"]
        change["TransactionType"] = "Refund"
        change["RelatedIdentifiers"][0]["RelatedIdentifierValue"] = ID
        check_document(schema, example)
        event = read_notification(json.dumps(example), "m-1")
        assert event is not None
        assert event.source_event_id == f"refund:{ID}:1689305713:10"

    def test_feed_notifications_ask_nothing(self, folder: Path) -> None:
        for example in load(folder / "notification.FeedProcessingFinishedNotification.json")["examples"]:
            assert read_notification(json.dumps(example), "m-1") is None


def test_the_declared_calls_are_described(orders: Path, feeds: Path, finances: Path) -> None:
    described = {
        f"{method.upper()} {path}"
        for spec in (orders, feeds, finances)
        for path, methods in load(spec)["paths"].items()
        for method in methods
    }
    for capability, operation in SPEC.operations.items():
        if capability is not Capability.INBOUND:
            assert operation.call.partition(" (")[0] in described
