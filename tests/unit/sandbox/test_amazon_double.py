"""The practice Amazon: tokens, orders, feeds and their reports, finances, and the queue that notifications come through."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.amazon import (
    ACKNOWLEDGEMENT,
    ADJUSTMENT,
    AWS_ACCESS_KEY_ID,
    AWS_REGION,
    AWS_SECRET_ACCESS_KEY,
    CLIENT_ID,
    CLIENT_SECRET,
    MARKETPLACE,
    QUEUE_PATH,
    QUEUE_URL,
    RATES,
    REFRESH_TOKEN,
    SELLER_ID,
    Amazon,
    signature_v4,
)
from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, How, Kind, NoSuchObjectError, Record, World
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ORDER = "111-2222222-3333333"
OTHER = "111-2222222-4444444"
ITEM = "10000000000001"
SECOND = "10000000000002"
XML = "text/xml; charset=UTF-8"
ORDERS = "/orders/2026-01-01/orders"
FEEDS = "/feeds/2021-06-30/feeds"
DOCUMENTS = "/feeds/2021-06-30/documents"
TRANSACTIONS = "/finances/2024-06-19/transactions"
GRANT = {
    "grant_type": "refresh_token",
    "refresh_token": REFRESH_TOKEN,
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
}
# 2 x 19.95 + 4.99 + 3.20, of which Amazon collects the tax.
LINE = {"id": ITEM, "sku": "MUG", "quantity": 2, "unit_price": "19.95", "shipping": "4.99", "tax": "3.20"}
LINE_2 = {"id": SECOND, "sku": "CAP", "unit_price": "10.00"}


def envelope(kind: str, *bodies: str, seller: str = SELLER_ID) -> str:
    messages = "".join(
        f"<Message><MessageID>{number}</MessageID><{kind}>{body}</{kind}></Message>"
        for number, body in enumerate(bodies, 1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><AmazonEnvelope><Header><DocumentVersion>1.01</DocumentVersion>'
        f"<MerchantIdentifier>{seller}</MerchantIdentifier></Header><MessageType>{kind}</MessageType>"
        f"{messages}</AmazonEnvelope>"
    )


def failure(order: str = ORDER, items: tuple[str, ...] = (ITEM,), reason: str = "BuyerCanceled") -> str:
    lines = "".join(
        f"<Item><AmazonOrderItemCode>{each}</AmazonOrderItemCode><CancelReason>{reason}</CancelReason></Item>"
        for each in items
    )
    return f"<AmazonOrderID>{order}</AmazonOrderID><StatusCode>Failure</StatusCode>{lines}"


def refund(
    amount: str = "19.95",
    *,
    order: str = ORDER,
    item: str = ITEM,
    kind: str = "Principal",
    currency: str = "USD",
    reference: str = "rf-9f0c",
    action: str = "<ActionType>Refund</ActionType>",
) -> str:
    return (
        f"<AmazonOrderID>{order}</AmazonOrderID>{action}<AdjustedItem>"
        f"<AmazonOrderItemCode>{item}</AmazonOrderItemCode>"
        f"<MerchantAdjustmentItemID>{reference}</MerchantAdjustmentItemID>"
        "<AdjustmentReason>CustomerCancel</AdjustmentReason><ItemPriceAdjustments><Component>"
        f'<Type>{kind}</Type><Amount currency="{currency}">{amount}</Amount>'
        "</Component></ItemPriceAdjustments></AdjustedItem>"
    )


def part(quantity: int, *, item: str = ITEM, reason: str = "CustomerCancel") -> str:
    return (
        f"<AmazonOrderID>{ORDER}</AmazonOrderID><ActionType>Cancel</ActionType><AdjustedItem>"
        f"<AmazonOrderItemCode>{item}</AmazonOrderItemCode><AdjustmentReason>{reason}</AdjustmentReason>"
        f"<QuantityCancelled>{quantity}</QuantityCancelled></AdjustedItem>"
    )


class Bench:
    """A practice Amazon behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.world = World([Amazon], clock=lambda: self.now)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("amazon")
        assert isinstance(vendor, Amazon)
        self.amazon = vendor
        self.token = ""

    def pass_time(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    def seed(self, *orders: Mapping[str, Any], **more: Any) -> Record:
        described = [{"id": ORDER, "items": [LINE], **order} for order in orders]
        return self.world.seed({"amazon": {"orders": described, **more}})["amazon"]

    def settle(self, **data: Any) -> Record:
        return self.world.settle("amazon", data)[0]

    def grant(
        self, changes: Mapping[str, str] | None = None, kind: str = "application/x-www-form-urlencoded"
    ) -> Result:
        form = {**GRANT, **(changes or {})}
        return self.client.simulate_post(
            "/amazon/auth/o2/token", body=urlencode(form), headers={"Content-Type": kind}
        )

    def headers(self) -> dict[str, str]:
        if not self.token:
            self.token = self.grant().json["access_token"]
        return {"x-amz-access-token": self.token}

    def get(self, path: str, **query: Any) -> Result:
        return self.client.simulate_get(
            f"/amazon{path}", query_string=urlencode(query), headers=self.headers()
        )

    def post(self, path: str, body: Any) -> Result:
        return self.client.simulate_post(f"/amazon{path}", json=body, headers=self.headers())

    def open(self, url: str, method: str = "GET", body: bytes = b"", **headers: str) -> Result:
        parts = urlsplit(url)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.simulate_request(
            method, parts.path, query_string=parts.query, body=body, headers=named
        )

    def document(self, content: str | None) -> str:
        made = self.post(DOCUMENTS, {"contentType": XML}).json
        if content is not None:
            assert self.open(made["url"], "PUT", content.encode(), Content_Type=XML).status_code == 200
        return str(made["feedDocumentId"])

    def make_feed(self, kind: str, content: str | None, marketplace: str = MARKETPLACE) -> str:
        body = {
            "feedType": kind,
            "marketplaceIds": [marketplace],
            "inputFeedDocumentId": self.document(content),
        }
        made = self.post(FEEDS, body)
        assert made.status_code == 202
        return str(made.json["feedId"])

    def feed(self, feed_id: str) -> Record:
        shown: Record = self.get(f"{FEEDS}/{feed_id}").json
        return shown

    def report(self, feed_id: str) -> Record:
        """The report's counts and lines."""
        shown = self.feed(feed_id)
        assert shown["processingStatus"] == "DONE"
        found = self.get(f"{DOCUMENTS}/{shown['resultFeedDocumentId']}").json
        return read_report(self.open(found["url"]).content)

    def send(self, kind: str, *bodies: str) -> Record:
        name = "OrderAcknowledgement" if kind == ACKNOWLEDGEMENT else "OrderAdjustment"
        return self.report(self.make_feed(kind, envelope(name, *bodies)))

    def order(
        self, order_id: str = ORDER, data: str = "PROCEEDS,CANCELLATION,FULFILLMENT,PACKAGES"
    ) -> Record:
        shown: Record = self.get(f"{ORDERS}/{order_id}", includedData=data).json["order"]
        return shown

    def status(self, order_id: str = ORDER) -> str:
        return str(self.order(order_id)["fulfillment"]["fulfillmentStatus"])

    def refunds(self, order_id: str = ORDER) -> list[Record]:
        found = self.get(TRANSACTIONS, relatedIdentifierName="ORDER_ID", relatedIdentifierValue=order_id)
        return [each for each in found.json["payload"]["transactions"] if each["transactionType"] == "Refund"]

    def sqs(self, action: str, body: Any, *, path: str = "/", **changes: Any) -> Result:
        """A signed call of the queue; `changes` break it."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        date = changes.get("date", f"{self.now:%Y%m%dT%H%M%SZ}")
        signed = {
            "host": "sqs.example",
            "content-type": "application/x-amz-json-1.0",
            "x-amz-date": date,
            "x-amz-target": f"AmazonSQS.{action}",
        }
        for name in changes.get("unsigned", ()):
            del signed[name]
        region = changes.get("region", AWS_REGION)
        signature = signature_v4(
            changes.get("secret", AWS_SECRET_ACCESS_KEY),
            method="POST",
            path=changes.get("signed_path", f"/amazon{path}"),
            headers=signed.items(),
            body=changes.get("signed_body", sent),
            date=date,
            region=region,
            service="sqs",
        )
        key = changes.get("key", AWS_ACCESS_KEY_ID)
        scope = f"{date[:8]}/{region}/sqs/aws4_request"
        credentials = (
            f"AWS4-HMAC-SHA256 Credential={key}/{scope}, "
            f"SignedHeaders={';'.join(sorted(signed))}, Signature={signature}"
        )
        headers = {
            "Host": "sqs.example",
            "Content-Type": changes.get("content_type", "application/x-amz-json-1.0"),
            "X-Amz-Date": date,
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Authorization": changes.get("authorization", credentials),
        }
        return self.client.simulate_post(
            f"/amazon{path}", body=sent, headers={name: value for name, value in headers.items() if value}
        )

    def receive(self, **asked: Any) -> list[Record]:
        found = self.sqs("ReceiveMessage", {"QueueUrl": QUEUE_URL, "MaxNumberOfMessages": 10, **asked})
        assert found.status_code == 200
        messages: list[Record] = found.json.get("Messages", [])
        return messages

    def delete(self, handle: Any) -> Result:
        return self.sqs("DeleteMessage", {"QueueUrl": QUEUE_URL, "ReceiptHandle": handle})

    def notes(self, topic: str) -> list[Record]:
        """What the queue brings of one type; nothing stays hidden."""
        told = [json.loads(each["Body"]) for each in self.receive(VisibilityTimeout=0)]
        return [
            each for each in told if topic in (each.get("NotificationType"), each.get("notificationType"))
        ]

    def book(self, effect: str | None = None) -> list[Record]:
        return self.amazon.book.lines(effect)


def parse(content: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(content)  # noqa: S314 (the practice vendor's own answer)


def read_report(content: bytes) -> Record:
    report = parse(content).find("Message/ProcessingReport")
    assert report is not None
    summary = {each.tag: int(each.text or "") for each in report.iterfind("ProcessingSummary/*")}
    lines = [
        {
            "MessageID": int(each.findtext("MessageID", "")),
            "ResultCode": each.findtext("ResultCode"),
            "ResultMessageCode": each.findtext("ResultMessageCode"),
            "ResultDescription": each.findtext("ResultDescription"),
            "AdditionalInfo": {info.tag: info.text for info in each.iterfind("AdditionalInfo/*")},
        }
        for each in report.iterfind("Result")
    ]
    return {
        "DocumentTransactionID": report.findtext("DocumentTransactionID"),
        "StatusCode": report.findtext("StatusCode"),
        "ProcessingSummary": summary,
        "Result": lines,
    }


def codes(report: Record) -> list[str]:
    return [line["ResultMessageCode"] for line in report["Result"]]


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- tokens


def test_a_refresh_token_buys_an_access_token_for_an_hour(bench: Bench) -> None:
    granted = bench.grant()

    assert granted.status_code == 200
    assert (granted.json["token_type"], granted.json["expires_in"]) == ("bearer", 3600)
    check_document(specs("amazon") / "lwa-token.schema.json", granted.json)
    assert bench.get("/sellers/v1/marketplaceParticipations").status_code == 200
    bench.pass_time(seconds=3600)
    refused = bench.get("/sellers/v1/marketplaceParticipations")
    assert (refused.status_code, refused.json["errors"][0]["details"]) == (
        403,
        "The access token you provided has expired.",
    )


@pytest.mark.parametrize(
    ("_case", "changes", "status", "error"),
    [
        ("no secret", {"client_secret": ""}, 400, "invalid_request"),
        ("another secret", {"client_secret": "x"}, 401, "invalid_client"),
        ("another refresh token", {"refresh_token": "Atzr|x"}, 400, "invalid_grant"),
        ("another grant", {"grant_type": "password"}, 400, "unsupported_grant_type"),
        ("no scope", {"grant_type": "client_credentials"}, 400, "invalid_scope"),
    ],
)
def test_a_wrong_grant_is_refused(
    bench: Bench, _case: str, changes: dict[str, str], status: int, error: str
) -> None:
    refused = bench.grant(changes)

    assert (refused.status_code, refused.json["error"]) == (status, error)
    assert set(refused.json) == {"error", "error_description"}


def test_a_grant_in_json_is_malformed(bench: Bench) -> None:
    assert bench.grant(kind="application/json").json["error"] == "invalid_request"


def test_a_revoked_authorisation_ends_tokens_too(bench: Bench) -> None:
    assert bench.get("/sellers/v1/marketplaceParticipations").status_code == 200
    bench.settle(authorisation="revoked")

    assert bench.get("/sellers/v1/marketplaceParticipations").status_code == 403
    assert bench.grant().json["error"] == "invalid_grant"
    bench.settle(authorisation="granted")
    assert bench.get("/sellers/v1/marketplaceParticipations").status_code == 200


def test_a_grantless_token_reads_no_orders(bench: Bench) -> None:
    granted = bench.grant(
        {"grant_type": "client_credentials", "scope": "sellingpartnerapi::notifications"}
    ).json
    bench.token = granted["access_token"]

    assert "refresh_token" not in granted
    assert bench.get(f"{ORDERS}/{ORDER}").status_code == 403


@pytest.mark.parametrize(
    ("_case", "headers", "details"),
    [
        ("none", {}, ""),
        ("unknown", {"x-amz-access-token": "Atza|x"}, "The access token you provided is revoked, malformed or invalid."),
        ("a bearer", {"Authorization": "Bearer x"}, ""),
    ],
)  # fmt: skip
def test_without_a_good_token_nothing_is_open(
    bench: Bench, _case: str, headers: dict[str, str], details: str
) -> None:
    refused = bench.client.simulate_get(f"/amazon{ORDERS}/{ORDER}", headers=headers)

    assert refused.status_code == 403
    assert refused.json == {
        "errors": [
            {"code": "Unauthorized", "message": "Access to requested resource is denied.", "details": details}
        ]
    }
    assert refused.headers["x-amzn-requestid"]


def test_a_missing_role_closes_its_operations_only(bench: Bench) -> None:
    bench.seed({}, roles=["Inventory and Order Tracking"])

    assert bench.get(f"{ORDERS}/{ORDER}").status_code == 200
    refused = bench.get(TRANSACTIONS, relatedIdentifierName="ORDER_ID", relatedIdentifierValue=ORDER)
    assert (refused.status_code, refused.json["errors"][0]["details"]) == (403, "")


def test_the_health_check_names_the_shops(bench: Bench) -> None:
    found = bench.get("/sellers/v1/marketplaceParticipations")

    assert found.json["payload"][0]["marketplace"]["id"] == MARKETPLACE
    assert found.json["payload"][0]["participation"] == {
        "isParticipating": True,
        "hasSuspendedListings": False,
    }
    assert found.headers["x-amzn-ratelimit-limit"] == "0.016"


def test_an_unknown_path_is_not_found(bench: Bench) -> None:
    refused = bench.get(f"/orders/v0/orders/{ORDER}")

    assert (refused.status_code, refused.json["errors"][0]["code"]) == (404, "NotFound")


# ---------------------------------------------------------------- orders


def test_an_order_shows_what_was_asked_for_and_no_more(bench: Bench) -> None:
    bench.seed({"seller_order_id": "SHOP-7", "buyer_cancel": "Found cheaper"})
    bare = bench.get(f"{ORDERS}/{ORDER}")
    full = bench.get(
        f"{ORDERS}/{ORDER}", includedData="PROCEEDS,CANCELLATION,FULFILLMENT,PACKAGES,TAX,BUYER"
    ).json

    spec = specs("amazon") / "orders_2026-01-01.json"
    check_response(spec, "GET", f"{ORDERS}/{{orderId}}", 200, full, declared_only=True)
    check_response(spec, "GET", f"{ORDERS}/{{orderId}}", 200, bare.json, declared_only=True)
    assert not {"fulfillment", "proceeds", "buyer", "packages"} & set(bare.json["order"])
    assert not {"fulfillment", "proceeds", "cancellation", "tax"} & set(bare.json["order"]["orderItems"][0])
    assert bare.headers["x-amzn-ratelimit-limit"] == "0.5"
    order = full["order"]
    assert order["orderAliases"] == [{"aliasId": "SHOP-7", "aliasType": "SELLER_ORDER_ID"}]
    assert order["fulfillment"]["fulfillmentStatus"] == "UNSHIPPED"
    assert order["proceeds"]["grandTotal"] == {"amount": "48.09", "currencyCode": "USD"}
    item = order["orderItems"][0]
    assert item["proceeds"]["proceedsTotal"] == {"amount": "48.09", "currencyCode": "USD"}
    assert {each["type"]: each["subtotal"]["amount"] for each in item["proceeds"]["breakdowns"]} == {
        "ITEM": "39.90",
        "SHIPPING": "4.99",
        "TAX": "3.20",
    }
    assert item["fulfillment"] == {"quantityFulfilled": 0, "quantityUnfulfilled": 2}
    assert item["cancellation"] == {
        "cancellationRequest": {"requester": "BUYER", "cancelReason": "Found cheaper"}
    }
    assert item["tax"]["taxCollections"][0]["model"] == "MARKETPLACE_FACILITATOR"


def test_yen_have_no_decimals_and_a_discount_is_negative(bench: Bench) -> None:
    bench.seed({"marketplace": "A1VC38T7YXB528", "items": [{"unit_price": "1200", "discount": "100"}]})
    proceeds = bench.order()["proceeds"]

    assert proceeds["grandTotal"] == {"amount": "1100", "currencyCode": "JPY"}
    assert [each["subtotal"]["amount"] for each in proceeds["breakdowns"]] == ["1200", "-100"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("TEST_CASE_400", 400), ("111-2222222-9999999", 404), (f"{ORDER}?includedData=ALL", 400)],
)
def test_an_order_that_is_not_there_is_refused(bench: Bench, path: str, status: int) -> None:
    bench.seed({})
    path, _, query = path.partition("?")
    refused = bench.client.simulate_get(
        f"/amazon{ORDERS}/{path}", query_string=query, headers=bench.headers()
    )

    assert refused.status_code == status
    check_response(
        specs("amazon") / "orders_2026-01-01.json", "GET", f"{ORDERS}/{{orderId}}", status, refused.json
    )


def test_a_search_finds_what_changed_but_not_the_last_two_minutes(bench: Bench) -> None:
    bench.seed({}, {"id": OTHER})
    bench.settle(order=ORDER, event="buyer_request", reason="Found cheaper")
    asked = {"lastUpdatedAfter": "2026-11-23T11:30:00Z", "includedData": "CANCELLATION,FULFILLMENT"}
    early = bench.get(ORDERS, **asked).json
    bench.pass_time(seconds=120)
    found = bench.get(ORDERS, **asked)

    assert (early["orders"], early["lastUpdatedBefore"]) == ([], "2026-11-23T11:58:00.000Z")
    assert [each["orderId"] for each in found.json["orders"]] == [ORDER]
    assert (
        found.json["orders"][0]["orderItems"][0]["cancellation"]["cancellationRequest"]["requester"]
        == "BUYER"
    )
    assert "pagination" not in found.json
    assert found.headers["x-amzn-ratelimit-limit"] == "0.0056"
    check_response(
        specs("amazon") / "orders_2026-01-01.json", "GET", ORDERS, 200, found.json, declared_only=True
    )


def test_a_search_filters_by_creation_status_party_and_shop(bench: Bench) -> None:
    bench.seed(
        {},
        {"id": "111-2222222-0000001", "fulfilled_by": "AMAZON", "status": "SHIPPED"},
        {"id": "111-2222222-0000002", "marketplace": "A1F83G8C2ARO7P"},
        {"id": "111-2222222-0000003", "created_s_ago": 86_400},
    )
    since = {"createdAfter": "2026-11-23T00:00:00Z"}

    def found(**filters: str) -> list[str]:
        return [each["orderId"][-1] for each in bench.get(ORDERS, **since, **filters).json["orders"]]

    assert found() == ["1", "2", "3"]
    assert found(fulfilledBy="MERCHANT") == ["2", "3"]
    assert found(fulfillmentStatuses="SHIPPED,CANCELLED") == ["1"]
    assert found(marketplaceIds="A1F83G8C2ARO7P") == ["2"]
    assert found(createdBefore="2026-11-23T10:00:00Z") == []


def test_a_search_goes_on_with_the_same_criteria_for_a_day(bench: Bench) -> None:
    bench.seed({}, {"id": OTHER}, {"id": "111-2222222-5555555"})
    asked = {"createdAfter": "2026-11-20T00:00:00Z", "fulfilledBy": "MERCHANT"}
    first = bench.get(ORDERS, **asked, maxResultsPerPage=2).json
    token = first["pagination"]["nextToken"]
    second = bench.get(ORDERS, **asked, includedData="FULFILLMENT", paginationToken=token).json

    assert [each["orderId"] for each in first["orders"]] == [ORDER, OTHER]
    assert [each["orderId"] for each in second["orders"]] == ["111-2222222-5555555"]
    assert "pagination" not in second
    assert bench.get(ORDERS, paginationToken=token).status_code == 400
    assert bench.get(ORDERS, createdAfter="2026-11-20T00:00:00Z", paginationToken=token).status_code == 400
    assert bench.get(ORDERS, **asked, paginationToken="x").status_code == 400
    bench.pass_time(hours=24)
    bench.token = ""
    assert bench.get(ORDERS, **asked, paginationToken=token).status_code == 400


@pytest.mark.parametrize(
    ("_case", "query"),
    [
        ("no start", {}),
        ("two starts", {"createdAfter": "2026-11-23T00:00:00Z", "lastUpdatedAfter": "2026-11-23T00:00:00Z"}),
        ("the other's end", {"createdAfter": "2026-11-23T00:00:00Z", "lastUpdatedBefore": "2026-11-23T01:00:00Z"}),
        ("end before start", {"createdAfter": "2026-11-23T02:00:00Z", "createdBefore": "2026-11-23T01:00:00Z"}),
        ("end a minute ago", {"createdAfter": "2026-11-23T02:00:00Z", "createdBefore": "2026-11-23T11:59:00Z"}),
        ("no time", {"createdAfter": "yesterday"}),
        ("page of 101", {"createdAfter": "2026-11-23T02:00:00Z", "maxResultsPerPage": "101"}),
        ("page of 0", {"createdAfter": "2026-11-23T02:00:00Z", "maxResultsPerPage": "0"}),
        ("strange status", {"createdAfter": "2026-11-23T02:00:00Z", "fulfillmentStatuses": "Canceled"}),
        ("strange party", {"createdAfter": "2026-11-23T02:00:00Z", "fulfilledBy": "MFN"}),
        ("strange data", {"createdAfter": "2026-11-23T02:00:00Z", "includedData": "ITEMS"}),
        ("51 shops", {"createdAfter": "2026-11-23T02:00:00Z", "marketplaceIds": ",".join(["A"] * 51)}),
    ],
)  # fmt: skip
def test_a_wrong_search_is_refused(bench: Bench, _case: str, query: dict[str, str]) -> None:
    refused = bench.get(ORDERS, **query)

    assert (refused.status_code, refused.json["errors"][0]["code"]) == (400, "InvalidInput")


# ---------------------------------------------------------------- the feed dance


def test_a_document_is_uploaded_to_its_own_address_and_a_feed_made_of_it(bench: Bench) -> None:
    bench.seed({})
    spec = specs("amazon") / "feeds_2021-06-30.json"
    made = bench.post(DOCUMENTS, {"contentType": XML})
    content = envelope("OrderAcknowledgement", failure()).encode()
    put = bench.open(made.json["url"], "PUT", content, Content_Type=XML)
    feed = bench.post(
        FEEDS,
        {
            "feedType": ACKNOWLEDGEMENT,
            "marketplaceIds": [MARKETPLACE],
            "inputFeedDocumentId": made.json["feedDocumentId"],
        },
    )
    shown = bench.get(f"{FEEDS}/{feed.json['feedId']}")
    found = bench.get(f"{DOCUMENTS}/{shown.json['resultFeedDocumentId']}")

    assert (made.status_code, put.status_code, feed.status_code) == (201, 200, 202)
    assert put.content == b""
    assert (made.headers["x-amzn-ratelimit-limit"], feed.headers["x-amzn-ratelimit-limit"]) == (
        "0.5",
        "0.0083",
    )
    check_response(spec, "POST", DOCUMENTS, 201, made.json, declared_only=True)
    check_response(spec, "POST", FEEDS, 202, feed.json, declared_only=True)
    check_response(spec, "GET", f"{FEEDS}/{{feedId}}", 200, shown.json, declared_only=True)
    check_response(spec, "GET", f"{DOCUMENTS}/{{feedDocumentId}}", 200, found.json, declared_only=True)
    assert "compressionAlgorithm" not in found.json
    report = read_report(bench.open(found.json["url"]).content)
    check_document(specs("amazon") / "feed-processing-report.schema.json", report)
    assert report == {
        "DocumentTransactionID": feed.json["feedId"],
        "StatusCode": "Complete",
        "ProcessingSummary": {
            "MessagesProcessed": 1,
            "MessagesSuccessful": 1,
            "MessagesWithError": 0,
            "MessagesWithWarning": 0,
        },
        "Result": [],
    }


@pytest.mark.parametrize(
    ("_case", "headers", "status", "code"),
    [
        ("another type", {"Content_Type": "text/xml"}, 403, "SignatureDoesNotMatch"),
        ("a bearer", {"Content_Type": XML, "Authorization": "Bearer x"}, 400, "InvalidArgument"),
        ("our token", {"Content_Type": XML, "x_amz_access_token": "Atza|x"}, 403, "AccessDenied"),
    ],
)
def test_an_upload_with_other_headers_than_signed_is_refused(
    bench: Bench, _case: str, headers: dict[str, str], status: int, code: str
) -> None:
    url = bench.post(DOCUMENTS, {"contentType": XML}).json["url"]
    refused = bench.open(url, "PUT", b"<x/>", **headers)

    assert (refused.status_code, parse(refused.content).findtext("Code")) == (status, code)
    assert [each.content for each in bench.amazon.documents.values()] == [None]


def test_an_address_is_good_for_five_minutes_and_one_method(bench: Bench) -> None:
    url = bench.post(DOCUMENTS, {"contentType": XML}).json["url"]

    assert bench.open(url).status_code == 403
    assert bench.open(url.replace("Signature=", "Signature=0"), "PUT", Content_Type=XML).status_code == 403
    bench.pass_time(seconds=300)
    assert bench.open(url, "PUT", b"<x/>", Content_Type=XML).status_code == 403


def test_a_report_may_be_packed(bench: Bench) -> None:
    bench.seed({}, habits={"gzips_reports": True})
    feed = bench.feed(bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure())))
    path = f"{DOCUMENTS}/{feed['resultFeedDocumentId']}"
    plain = bench.get(path).json
    unpacking = bench.get(path, enableContentEncodingUrlHeader="true").json

    assert plain["compressionAlgorithm"] == "GZIP"
    answer = bench.open(plain["url"])
    assert "content-encoding" not in answer.headers
    assert read_report(gzip.decompress(answer.content))["Result"] == []
    assert bench.open(unpacking["url"]).headers["content-encoding"] == "gzip"


def test_only_reports_are_given_out_again(bench: Bench) -> None:
    own = bench.document("<x/>")

    assert bench.get(f"{DOCUMENTS}/{own}").status_code == 400
    assert bench.get(f"{DOCUMENTS}/amzn1.tortuga.x").status_code == 400


@pytest.mark.parametrize(
    ("_case", "changes"),
    [
        ("no type", {"feedType": None}),
        ("another type", {"feedType": "POST_PRODUCT_DATA"}),
        ("no shop", {"marketplaceIds": []}),
        ("26 shops", {"marketplaceIds": ["A"] * 26}),
        ("shop no list", {"marketplaceIds": MARKETPLACE}),
        ("no document", {"inputFeedDocumentId": None}),
        ("another document", {"inputFeedDocumentId": "badDocumentId"}),
    ],
)
def test_a_wrong_feed_is_refused_and_not_made(bench: Bench, _case: str, changes: dict[str, Any]) -> None:
    document = bench.document(envelope("OrderAcknowledgement", failure()))
    body = {"feedType": ACKNOWLEDGEMENT, "marketplaceIds": [MARKETPLACE], "inputFeedDocumentId": document}
    refused = bench.post(FEEDS, {**body, **changes})

    assert (refused.status_code, refused.json["errors"][0]["code"]) == (400, "InvalidInput")
    assert bench.amazon.feeds == {}


def test_a_body_must_be_json_with_a_content_type(bench: Bench) -> None:
    plain = bench.client.simulate_post(f"/amazon{DOCUMENTS}", body="x", headers=bench.headers())

    assert plain.status_code == 415
    assert bench.post(DOCUMENTS, {}).status_code == 400
    assert bench.post(DOCUMENTS, ["x"]).status_code == 400


def test_a_feed_without_content_is_fatal_and_one_for_a_strange_shop_is_cancelled(bench: Bench) -> None:
    bench.seed({})
    empty = bench.feed(bench.make_feed(ACKNOWLEDGEMENT, None))
    strange = bench.feed(
        bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()), "A000STRANGE")
    )

    assert (empty["processingStatus"], strange["processingStatus"]) == ("FATAL", "CANCELLED")
    assert "resultFeedDocumentId" not in empty
    assert "processingStartTime" not in strange
    assert bench.book() == []


def test_feeds_are_found_by_type_status_and_time_the_newest_first(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"}, {"id": OTHER})
    ids = []
    for kind, body in ((ADJUSTMENT, refund()), (ADJUSTMENT, refund()), (ACKNOWLEDGEMENT, failure(OTHER))):
        bench.pass_time(minutes=1)
        name = "OrderAdjustment" if kind == ADJUSTMENT else "OrderAcknowledgement"
        ids.append(bench.make_feed(kind, envelope(name, body)))

    def found(**query: Any) -> list[str]:
        return [each["feedId"] for each in bench.get(FEEDS, **query).json["feeds"]]

    assert found(feedTypes=ADJUSTMENT) == [ids[1], ids[0]]
    assert found(feedTypes=f"{ADJUSTMENT},{ACKNOWLEDGEMENT}") == ids[::-1]
    assert found(feedTypes=ADJUSTMENT, createdSince="2026-11-23T12:02:00Z") == [ids[1]]
    assert found(feedTypes=ADJUSTMENT, createdUntil="2026-11-23T12:01:30Z") == [ids[0]]
    assert found(feedTypes=ADJUSTMENT, processingStatuses="IN_QUEUE,FATAL") == []
    assert found(feedTypes=ADJUSTMENT, marketplaceIds="A1F83G8C2ARO7P") == []
    first = bench.get(FEEDS, feedTypes=ADJUSTMENT, pageSize=1)
    assert found(nextToken=first.json["nextToken"]) == [ids[0]]
    assert bench.get(FEEDS, feedTypes=ADJUSTMENT, nextToken=first.json["nextToken"]).status_code == 400
    check_response(
        specs("amazon") / "feeds_2021-06-30.json", "GET", FEEDS, 200, first.json, declared_only=True
    )
    bench.pass_time(days=90, minutes=5)
    bench.token = ""
    assert found(feedTypes=ADJUSTMENT) == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"nextToken": "x"},
        {"feedTypes": ADJUSTMENT, "pageSize": "101"},
        {"feedTypes": ADJUSTMENT, "processingStatuses": "BAD_VALUE,DONE"},
        {"feedTypes": ADJUSTMENT, "createdSince": "x"},
        {"feedTypes": ",".join([ADJUSTMENT] * 11)},
    ],
)
def test_a_wrong_list_of_feeds_is_refused(bench: Bench, query: dict[str, str]) -> None:
    assert bench.get(FEEDS, **query).status_code == 400


def test_a_new_feed_may_be_missing_from_the_list_for_a_while(bench: Bench) -> None:
    bench.seed({}, habits={"feeds_list_lag_s": 60})
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()))

    assert bench.get(FEEDS, feedTypes=ACKNOWLEDGEMENT).json["feeds"] == []
    assert bench.feed(feed)["processingStatus"] == "DONE"
    bench.pass_time(seconds=60)
    assert len(bench.get(FEEDS, feedTypes=ACKNOWLEDGEMENT).json["feeds"]) == 1


def test_an_unknown_feed_is_not_found(bench: Bench) -> None:
    assert bench.get(f"{FEEDS}/1").status_code == 404


def test_a_feed_takes_its_time_and_acts_at_its_end(bench: Bench) -> None:
    bench.seed({}, habits={"feed_queue_s": 60, "feed_work_s": 120})
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()))

    assert bench.feed(feed)["processingStatus"] == "IN_QUEUE"
    bench.pass_time(seconds=60)
    assert bench.feed(feed)["processingStatus"] == "IN_PROGRESS"
    assert bench.book() == []
    bench.pass_time(seconds=120)
    assert bench.feed(feed)["processingStatus"] == "DONE"
    assert len(bench.book("cancel_order")) == 1


@pytest.mark.parametrize(
    ("_case", "content"),
    [
        ("no XML", "<AmazonEnvelope>"),
        ("another root", "<Envelope/>"),
        ("another seller", envelope("OrderAcknowledgement", failure(), seller="A_OTHER")),
        ("another type", envelope("OrderAdjustment", refund())),
        ("no message", envelope("OrderAcknowledgement")),
        ("a strange reason", envelope("OrderAcknowledgement", failure(reason="ChangedMind"))),
        ("a short order id", envelope("OrderAcknowledgement", failure(order="1001"))),
        ("a short item id", envelope("OrderAcknowledgement", failure(items=("42",)))),
        ("a strange status", envelope("OrderAcknowledgement", failure().replace("Failure", "Cancel"))),
        ("a strange element", envelope("OrderAcknowledgement", failure() + "<Note>x</Note>")),
        ("status before id", envelope("OrderAcknowledgement", f"<StatusCode>Failure</StatusCode><AmazonOrderID>{ORDER}</AmazonOrderID>")),
        ("two order ids", envelope("OrderAcknowledgement", f"<AmazonOrderID>{ORDER}</AmazonOrderID>{failure()}")),
        ("one number twice", envelope("OrderAcknowledgement", failure(), failure(OTHER)).replace("<MessageID>2<", "<MessageID>1<")),
        ("number zero", envelope("OrderAcknowledgement", failure()).replace("<MessageID>1<", "<MessageID>0<")),
        ("one bad of two", envelope("OrderAcknowledgement", failure(), failure(OTHER, reason="x"))),
        ("two bodies", envelope("OrderAcknowledgement", failure()).replace("</Message>", f"<OrderAdjustment>{refund()}</OrderAdjustment></Message>")),
        ("only another body", envelope("OrderAdjustment", refund()).replace(">OrderAdjustment</MessageType>", ">OrderAcknowledgement</MessageType>")),
    ],
)  # fmt: skip
def test_a_malformed_document_is_done_with_error_5000_and_nothing_of_it_is_executed(
    bench: Bench, _case: str, content: str
) -> None:
    bench.seed({}, {"id": OTHER})
    report = bench.report(bench.make_feed(ACKNOWLEDGEMENT, content))

    assert codes(report) == ["5000"]
    assert report["ProcessingSummary"]["MessagesWithError"] == 1
    assert "malformed or invalid XML document" in report["Result"][0]["ResultDescription"]
    assert bench.book() == []


@pytest.mark.parametrize(
    ("_case", "body"),
    [
        ("three decimals", refund("1.999")),
        ("a word", refund("much")),
        ("no currency", refund(currency="")),
        ("a strange component", refund(kind="Money")),
        ("a strange action", refund(action="<ActionType>Pay</ActionType>")),
        ("no reason", refund().replace("<AdjustmentReason>CustomerCancel</AdjustmentReason>", "")),
        ("none cancelled", part(0)),
    ],
)
def test_a_malformed_adjustment_pays_nothing(bench: Bench, _case: str, body: str) -> None:
    bench.seed({"status": "SHIPPED"})

    assert codes(bench.send(ADJUSTMENT, body)) == ["5000"]
    assert bench.book() == []


# ---------------------------------------------------------------- cancelling


def test_a_failure_for_all_items_cancels_the_order_and_restocks_it(bench: Bench) -> None:
    bench.seed({"items": [LINE, LINE_2], "buyer_cancel": "Found cheaper"})
    body = failure(items=(ITEM, SECOND)).replace(
        "<StatusCode>", "<MerchantOrderID>RF-77</MerchantOrderID><StatusCode>"
    )
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", body))
    order = bench.order()

    assert bench.report(feed)["ProcessingSummary"]["MessagesSuccessful"] == 1
    assert order["fulfillment"]["fulfillmentStatus"] == "CANCELLED"
    assert order["orderItems"][0]["cancellation"] == {
        "cancellationRequest": {"requester": "BUYER", "cancelReason": "Found cheaper"},
        "cancellationExecution": {"cancelledBy": "MERCHANT", "cancelReason": "BuyerCanceled"},
    }
    target = {"order": ORDER, "feed": feed, "message": 1}
    assert bench.book("cancel_order") == [
        {
            "at": START.isoformat(),
            "vendor": "amazon",
            "effect": "cancel_order",
            "id": ORDER,
            "amount_minor": None,
            "currency": "USD",
            "target": target,
            "reference": "RF-77",
            "idempotency_key": None,
            "by": "MERCHANT",
            "reasons": {ITEM: "BuyerCanceled", SECOND: "BuyerCanceled"},
        }
    ]
    assert [(line["id"], line["quantity"]) for line in bench.book("restock")] == [("MUG", 2), ("CAP", 1)]
    assert bench.book("refund") == []


def test_no_inventory_does_not_raise_the_listing(bench: Bench) -> None:
    bench.seed({})
    bench.send(ACKNOWLEDGEMENT, failure(reason="NoInventory"))

    assert [line["effect"] for line in bench.book()] == ["cancel_order"]


def test_a_house_that_does_not_restock_is_a_habit(bench: Bench) -> None:
    bench.seed({}, habits={"restocks_cancelled": False})
    bench.send(ACKNOWLEDGEMENT, failure())

    assert [line["effect"] for line in bench.book()] == ["cancel_order"]


def test_a_failure_without_items_is_reported_clean_and_does_nothing(bench: Bench) -> None:
    bench.seed({})
    report = bench.send(ACKNOWLEDGEMENT, failure(items=()))

    assert (report["ProcessingSummary"]["MessagesSuccessful"], report["Result"]) == (1, [])
    assert bench.status() == "UNSHIPPED"
    assert bench.book() == []


def test_a_second_cancellation_is_an_error_line(bench: Bench) -> None:
    bench.seed({})
    bench.send(ACKNOWLEDGEMENT, failure())
    report = bench.send(ACKNOWLEDGEMENT, failure())

    assert report["Result"][0]["ResultDescription"] == "The order is already cancelled"
    assert report["Result"][0]["AdditionalInfo"] == {"AmazonOrderID": ORDER}
    assert len(bench.book("cancel_order")) == 1


@pytest.mark.parametrize(
    ("_case", "order", "body", "code"),
    [
        ("not ours", {}, failure("111-2222222-0000000"), "18001"),
        ("fulfilled by Amazon", {"fulfilled_by": "AMAZON"}, failure(), "18002"),
        ("not paid yet", {"status": "PENDING"}, failure(), "18004"),
        ("a strange item", {}, failure(items=("10000000000009",)), "18028"),
        ("no reason", {}, failure().replace("<CancelReason>BuyerCanceled</CancelReason>", ""), "18028"),
        ("one of two items", {"items": [LINE, LINE_2]}, failure(), "18028"),
        ("refused by seed", {"feed_refusal": "The order is under review & held"}, failure(), "18028"),
    ],
)
def test_a_cancellation_that_cannot_be_is_an_error_line(
    bench: Bench, _case: str, order: Record, body: str, code: str
) -> None:
    bench.seed(order)

    assert codes(bench.send(ACKNOWLEDGEMENT, body)) == [code]
    assert bench.book() == []


def test_messages_stand_for_themselves(bench: Bench) -> None:
    bench.seed({"status": "PENDING"}, {"id": OTHER})
    report = bench.send(ACKNOWLEDGEMENT, failure(), failure(OTHER))

    assert [line["MessageID"] for line in report["Result"]] == [1]
    assert report["ProcessingSummary"] == {
        "MessagesProcessed": 2,
        "MessagesSuccessful": 1,
        "MessagesWithError": 1,
        "MessagesWithWarning": 0,
    }
    assert [line["id"] for line in bench.book("cancel_order")] == [OTHER]


@pytest.mark.parametrize("shipped", [{ITEM: 2}, {ITEM: 1}])
def test_a_failure_after_a_shipment_refunds_the_whole_order(bench: Bench, shipped: dict[str, int]) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="ship", items=shipped)
    bench.send(ACKNOWLEDGEMENT, failure())

    assert [(line["amount_minor"], line["currency"]) for line in bench.book("refund")] == [(4809, "USD")]
    assert bench.book("cancel_order") == []
    assert bench.status() == ("SHIPPED" if shipped[ITEM] == 2 else "PARTIALLY_SHIPPED")


def test_a_success_only_acknowledges(bench: Bench) -> None:
    bench.seed({})
    body = f"<AmazonOrderID>{ORDER}</AmazonOrderID><MerchantOrderID>SHOP-7</MerchantOrderID><StatusCode>Success</StatusCode>"
    bench.send(ACKNOWLEDGEMENT, body)

    assert [(line["effect"], line["reference"]) for line in bench.book()] == [("acknowledge_order", "SHOP-7")]
    assert bench.order()["orderAliases"][0]["aliasId"] == "SHOP-7"


def test_what_was_due_while_nobody_called_has_the_time_when_it_was_due(bench: Bench) -> None:
    bench.seed({}, habits={"feed_queue_s": 60, "feed_work_s": 120, "cancel_shows_after_s": 600})
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()))
    bench.pass_time(minutes=50)
    shown = bench.feed(feed)

    assert (shown["processingStartTime"], shown["processingEndTime"]) == (
        "2026-11-23T12:01:00.000Z",
        "2026-11-23T12:03:00.000Z",
    )
    assert bench.order()["lastUpdatedTime"] == "2026-11-23T12:13:00.000Z"


def test_a_cancellation_shows_late_but_is_true_at_once(bench: Bench) -> None:
    bench.seed({}, habits={"cancel_shows_after_s": 600})
    bench.send(ACKNOWLEDGEMENT, failure())

    assert bench.status() == "UNSHIPPED"
    assert len(bench.book("cancel_order")) == 1
    assert codes(bench.send(ACKNOWLEDGEMENT, failure())) == ["18003"]
    with pytest.raises(ValueError, match="is cancelled"):
        bench.settle(order=ORDER, event="ship")
    bench.pass_time(seconds=600)
    assert bench.status() == "CANCELLED"


# ---------------------------------------------------------------- refunding


def test_an_adjustment_pays_the_buyer_and_shows_in_the_finances(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"})
    feed = bench.make_feed(ADJUSTMENT, envelope("OrderAdjustment", refund()))
    line = bench.book("refund")[0]

    assert bench.report(feed)["Result"] == []
    assert len(bench.book()) == 1
    assert (line["amount_minor"], line["currency"], line["reference"], line["by"]) == (
        1995,
        "USD",
        "rf-9f0c",
        "MERCHANT",
    )
    assert line["target"] == {"order": ORDER, "feed": feed, "message": 1}
    assert line["references"] == ["rf-9f0c"]
    assert bench.refunds() == []
    bench.pass_time(seconds=121)
    found = bench.refunds()
    assert [(each["totalAmount"], each["description"]) for each in found] == [
        ({"currencyAmount": -19.95, "currencyCode": "USD"}, "Refund Order")
    ]
    assert {"relatedIdentifierName": "REFUND_ID", "relatedIdentifierValue": line["id"]} in found[0][
        "relatedIdentifiers"
    ]


def test_the_same_adjustment_twice_pays_twice(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"})
    document = bench.document(envelope("OrderAdjustment", refund("48.00")))
    body = {"feedType": ADJUSTMENT, "marketplaceIds": [MARKETPLACE], "inputFeedDocumentId": document}
    first, second = (bench.post(FEEDS, body).json["feedId"] for _ in range(2))

    assert first != second
    assert [(line["amount_minor"], line["reference"]) for line in bench.book("refund")] == [
        (4800, "rf-9f0c"),
        (4800, "rf-9f0c"),
    ]


def test_an_adjustment_of_two_items_is_one_refund_of_both(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED", "items": [LINE, LINE_2]})
    second = refund("10.00", item=SECOND, reference="rf-2").partition("</ActionType>")[2]
    bench.send(ADJUSTMENT, refund(action="<ActionType>Refund</ActionType>") + second)

    assert [(line["amount_minor"], line["references"]) for line in bench.book("refund")] == [
        (2995, ["rf-9f0c", "rf-2"])
    ]


@pytest.mark.parametrize(
    ("_case", "order", "body", "code"),
    [
        ("not ours", {}, refund(order="111-2222222-0000000"), "18001"),
        ("fulfilled by Amazon", {"fulfilled_by": "AMAZON", "status": "SHIPPED"}, refund(), "18002"),
        ("not shipped", {}, refund(), "18006"),
        ("a strange item", {"status": "SHIPPED"}, refund(item="10000000000009"), "18028"),
        ("another currency", {"status": "SHIPPED"}, refund(currency="EUR"), "18028"),
        ("nothing", {"status": "SHIPPED"}, refund("0.00"), "18028"),
        ("from the buyer", {"status": "SHIPPED"}, refund("-1.00"), "18028"),
        ("tax that Amazon collects", {"status": "SHIPPED"}, refund("3.20", kind="Tax"), "18007"),
        ("a price with Cancel", {"status": "SHIPPED"}, refund(action="<ActionType>Cancel</ActionType>"), "18028"),
        ("one item twice", {"status": "SHIPPED"}, refund() + refund().partition("</ActionType>")[2], "18028"),
        ("too many cancelled", {}, part(3), "18005"),
        ("cancelled after shipment", {"status": "SHIPPED"}, part(1), "18005"),
        ("cancelled before payment", {"status": "PENDING"}, part(1), "18005"),
        ("cancelled twice", {"status": "CANCELLED"}, part(1), "18005"),
        ("neither price nor quantity", {}, part(1).replace("<QuantityCancelled>1</QuantityCancelled>", ""), "18028"),
    ],
)  # fmt: skip
def test_an_adjustment_that_cannot_be_is_an_error_line(
    bench: Bench, _case: str, order: Record, body: str, code: str
) -> None:
    bench.seed(order)

    assert codes(bench.send(ADJUSTMENT, body)) == [code]
    assert bench.book() == []


def test_tax_that_the_seller_collects_is_refunded(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED", "is_tax_ours": True})
    bench.send(ADJUSTMENT, refund("3.20", kind="Tax", action=""))

    assert [line["amount_minor"] for line in bench.book("refund")] == [320]
    assert "tax" not in bench.order(data="TAX")["orderItems"][0]


def test_yen_are_refunded_without_decimals(bench: Bench) -> None:
    bench.seed(
        {"status": "SHIPPED", "marketplace": "A1VC38T7YXB528", "items": [{"id": ITEM, "unit_price": "999"}]}
    )

    assert codes(bench.send(ADJUSTMENT, refund("9.50", currency="JPY"))) == ["18028"]
    assert codes(bench.send(ADJUSTMENT, refund("999", currency="JPY"))) == []
    assert [(line["amount_minor"], line["currency"]) for line in bench.book("refund")] == [(999, "JPY")]


def test_units_are_cancelled_before_shipment_and_the_last_one_cancels_the_order(bench: Bench) -> None:
    bench.seed({})
    bench.send(ADJUSTMENT, part(1))

    assert bench.order()["orderItems"][0]["fulfillment"] == {"quantityFulfilled": 0, "quantityUnfulfilled": 1}
    assert bench.status() == "UNSHIPPED"
    bench.send(ADJUSTMENT, part(1, reason="NoInventory"))
    assert bench.status() == "CANCELLED"
    assert [(line["effect"], line["quantity"]) for line in bench.book()] == [
        ("cancel_item", 1),
        ("restock", 1),
        ("cancel_item", 1),
    ]
    execution = bench.order()["orderItems"][0]["cancellation"]["cancellationExecution"]
    assert execution == {"cancelledBy": "MERCHANT", "cancelReason": "NoInventory"}


def test_cancelling_what_is_left_makes_a_partly_shipped_order_shipped(bench: Bench) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="ship", items={ITEM: 1})
    bench.send(ADJUSTMENT, part(1))

    assert bench.status() == "SHIPPED"


# ---------------------------------------------------------------- finances


def test_finances_show_a_refund_after_their_lag_or_when_settled(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"}, habits={"finances_lag_s": 172_800})
    bench.send(ADJUSTMENT, refund())
    bench.pass_time(minutes=50)

    assert bench.refunds() == []
    assert bench.settle(finances="post") == {"posted": 1}
    bench.pass_time(minutes=3)
    assert len(bench.refunds()) == 1
    bench.send(ADJUSTMENT, refund())
    bench.pass_time(days=2, minutes=3)
    bench.token = ""
    assert len(bench.refunds()) == 2


def test_the_total_may_be_less_than_was_refunded_because_a_fee_comes_back(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"}, habits={"returned_fee_percent": 15, "lists_lag_s": 0})
    bench.send(ADJUSTMENT, refund("20.00"))
    bench.pass_time(seconds=1)
    found = bench.refunds()[0]

    assert found["totalAmount"]["currencyAmount"] == -17.0
    assert {
        each["breakdownType"]: each["breakdownAmount"]["currencyAmount"] for each in found["breakdowns"]
    } == {
        "Product Charges": -20.0,
        "Amazon Fees": 3.0,
    }


def test_transactions_are_listed_by_time_shop_and_status_in_pages(bench: Bench) -> None:
    bench.seed(
        {"status": "SHIPPED"},
        {"id": OTHER, "status": "SHIPPED", "marketplace": "A1F83G8C2ARO7P", "created_s_ago": 7200},
        {"id": "111-2222222-5555555", "status": "SHIPPED", "fulfilled_by": "AMAZON"},
        habits={"transactions_page": 2},
    )

    def found(**query: Any) -> list[str]:
        listed = bench.get(TRANSACTIONS, **query).json["payload"]["transactions"]
        return [each["relatedIdentifiers"][0]["relatedIdentifierValue"] for each in listed]

    since = {"postedAfter": "2026-11-23"}
    first = bench.get(TRANSACTIONS, **since)
    assert found(**since) == [OTHER, ORDER]
    assert found(**since, nextToken=first.json["payload"]["nextToken"]) == ["111-2222222-5555555"]
    assert bench.get(TRANSACTIONS, nextToken=first.json["payload"]["nextToken"]).status_code == 400
    # Seller-fulfilled orders of the US shop are found without a filter only.
    assert found(**since, marketplaceId=MARKETPLACE) == ["111-2222222-5555555"]
    assert found(**since, marketplaceId="A1F83G8C2ARO7P") == [OTHER]
    assert found(**since, transactionStatus="DEFERRED") == []
    assert found(**since, postedBefore="2026-11-23T10:30:00Z") == [OTHER]
    assert found(postedAfter="2026-01-01", postedBefore="2026-11-23T11:30:00Z") == []
    check_response(
        specs("amazon") / "finances_2024-06-19.json", "GET", TRANSACTIONS, 200, first.json, declared_only=True
    )


@pytest.mark.parametrize(
    ("_case", "query"),
    [
        ("neither time nor order", {"postedBefore": "2022-03-07"}),
        ("a name without a value", {"relatedIdentifierName": "ORDER_ID"}),
        (
            "a name that filters nothing",
            {"relatedIdentifierName": "REFUND_ID", "relatedIdentifierValue": "1"},
        ),
        ("a minute ago", {"postedAfter": "2026-11-23T11:59:00Z"}),
        ("end before start", {"postedAfter": "2026-11-23T10:00:00Z", "postedBefore": "2026-11-23T09:00:00Z"}),
        ("end a minute ago", {"postedAfter": "2026-11-23T10:00:00Z", "postedBefore": "2026-11-23T11:59:00Z"}),
        ("a strange status", {"postedAfter": "2026-11-23", "transactionStatus": "DONE"}),
    ],
)
def test_a_wrong_list_of_transactions_is_refused(bench: Bench, _case: str, query: dict[str, str]) -> None:
    refused = bench.get(TRANSACTIONS, **query)

    assert (refused.status_code, refused.json["errors"][0]["code"]) == (400, "InvalidInput")


# ---------------------------------------------------------------- settling


def test_an_order_lives_from_payment_to_shipment(bench: Bench) -> None:
    bench.seed({"status": "PENDING"})
    bench.settle(order=ORDER, event="pay")
    assert bench.status() == "UNSHIPPED"
    bench.settle(order=ORDER, event="ship", items={ITEM: 1})
    assert bench.status() == "PARTIALLY_SHIPPED"
    assert bench.settle(order=ORDER, event="ship")["status"] == "SHIPPED"

    packages = bench.order()["packages"]
    assert [each["packageItems"] for each in packages] == [[{"orderItemId": ITEM, "quantity": 1}]] * 2
    assert bench.book() == []
    assert [each["transactionType"] for each in bench.amazon.transactions] == ["Shipment", "Shipment"]
    changes = [each["Payload"]["OrderChangeNotification"] for each in bench.notes("ORDER_CHANGE")]
    assert [each["OrderChangeTrigger"]["ChangeReason"] for each in changes] == [
        "Unshipped",
        "PartiallyShipped",
        "Shipped",
    ]


@pytest.mark.parametrize(("event", "by"), [("buyer_cancel", "BUYER"), ("amazon_cancel", "AMAZON")])
def test_the_buyer_or_amazon_cancels(bench: Bench, event: str, by: str) -> None:
    bench.seed({"status": "PENDING"})
    bench.settle(order=ORDER, event=event, reason="Payment failed")

    assert bench.order()["orderItems"][0]["cancellation"]["cancellationExecution"] == {
        "cancelledBy": by,
        "cancelReason": "Payment failed",
    }
    assert [(line["by"], line["reference"]) for line in bench.book("cancel_order")] == [(by, None)]


def test_somebody_refunds_in_seller_central(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED", "fulfilled_by": "AMAZON"})
    bench.settle(order=ORDER, event="refund", amount="5.00")
    bench.pass_time(minutes=3)

    assert [(line["amount_minor"], line["by"], line["reference"]) for line in bench.book("refund")] == [
        (500, "AMAZON", None)
    ]
    assert [each["totalAmount"]["currencyAmount"] for each in bench.refunds()] == [-5.0]


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("UNSHIPPED", "pay"),
        ("SHIPPED", "buyer_request"),
        ("SHIPPED", "buyer_cancel"),
        ("SHIPPED", "ship"),
        ("PENDING", "ship"),
        ("UNSHIPPED", "refund"),
        ("CANCELLED", "buyer_request"),
        ("UNSHIPPED", "vanish"),
    ],
)
def test_a_wrong_move_is_refused(bench: Bench, status: str, event: str) -> None:
    bench.seed({"status": status})

    with pytest.raises(ValueError, match=r"cannot be settled|is cancelled"):
        bench.settle(order=ORDER, event=event)
    assert bench.book() == []


def test_settling_what_is_not_there_is_said(bench: Bench) -> None:
    bench.seed({})
    for data in ({"order": OTHER, "event": "pay"}, {"feed": "1", "status": "DONE"}, {"notification": "x"}):
        with pytest.raises(NoSuchObjectError):
            bench.settle(**data)
    for wrong in ({"feed": "1", "status": "IN_QUEUE"}, {"order": ORDER}, {"finances": "wait"}):
        with pytest.raises(ValueError, match="amazon settles"):
            bench.settle(**wrong)
    with pytest.raises(ValueError, match="has not these items open"):
        bench.settle(order=ORDER, event="ship", items={ITEM: 3})


def test_a_slow_feed_waits_until_it_is_settled(bench: Bench) -> None:
    bench.seed({})
    bench.world.faults.add(Fault(Kind.SLOW_PENDING, operation="create_feed"))
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()))
    bench.pass_time(minutes=50)

    assert bench.feed(feed)["processingStatus"] == "IN_PROGRESS"
    assert bench.book() == []
    assert bench.settle(feed=feed, status="DONE") == {"feed": feed, "status": "DONE"}
    assert bench.report(feed)["Result"] == []
    assert len(bench.book("cancel_order")) == 1
    with pytest.raises(ValueError, match="has ended"):
        bench.settle(feed=feed, status="FATAL")


def test_a_fatal_feed_may_have_done_a_part(bench: Bench) -> None:
    bench.seed({}, {"id": OTHER}, habits={"feed_queue_s": 60})
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure(), failure(OTHER)))
    bench.settle(feed=feed, status="IN_PROGRESS")
    assert bench.feed(feed)["processingStatus"] == "IN_PROGRESS"
    bench.settle(feed=feed, status="FATAL", executed=1)
    bench.pass_time(minutes=5)

    shown = bench.feed(feed)
    assert (shown["processingStatus"], "resultFeedDocumentId" in shown) == ("FATAL", False)
    assert (bench.status(), bench.status(OTHER)) == ("CANCELLED", "UNSHIPPED")
    assert [line["id"] for line in bench.book("cancel_order")] == [ORDER]


def test_a_cancelled_feed_did_nothing(bench: Bench) -> None:
    bench.seed({}, habits={"feed_queue_s": 60})
    feed = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()))
    bench.settle(feed=feed, status="CANCELLED")
    bench.pass_time(minutes=5)

    assert bench.feed(feed)["processingStatus"] == "CANCELLED"
    assert bench.book() == []


@pytest.mark.parametrize(
    "data",
    [
        {"orders": [{"items": [{}]}]},
        {"orders": [{"id": "1", "items": [LINE]}]},
        {"orders": [{"status": "Shipped", "items": [LINE]}]},
        {"orders": [{"status": "PARTIALLY_SHIPPED", "items": [LINE]}]},
        {"orders": [{"items": [{"unit_price": "much"}]}]},
        {"habits": {"is_kind": True}},
        {"notifications": ["ANY_OFFER_CHANGED"]},
    ],
)
def test_what_cannot_be_seeded_is_said(bench: Bench, data: Record) -> None:
    with pytest.raises(ValueError, match="cannot seed amazon"):
        bench.world.seed({"amazon": data})


def test_seeding_names_what_was_made(bench: Bench) -> None:
    made = bench.world.seed({"amazon": {"orders": [{"items": [{"unit_price": "5.00"}]}]}})["amazon"][
        "orders"
    ][0]

    assert made["total"] == "5.00"
    assert bench.order(made["id"])["orderItems"][0]["orderItemId"] == made["items"][0]


def test_a_reset_forgets_everything(bench: Bench) -> None:
    bench.seed({})
    bench.send(ACKNOWLEDGEMENT, failure())
    bench.world.reset("amazon")

    assert (bench.book(), bench.amazon.orders, bench.amazon.queue) == ([], {}, [])


# ---------------------------------------------------------------- notifications


def test_a_buyers_wish_comes_through_the_queue(bench: Bench) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="buyer_request")
    messages = bench.receive()
    told = json.loads(messages[0]["Body"])

    assert len(messages) == 1
    check_document(specs("amazon") / "notification.OrderChangeNotification.json", told)
    change = told["Payload"]["OrderChangeNotification"]
    assert (change["AmazonOrderId"], change["OrderChangeType"]) == (ORDER, "BuyerRequestedChange")
    assert change["OrderChangeTrigger"]["ChangeReason"] == "Buyer Requested Cancel"
    assert change["Summary"]["OrderStatus"] == "Unshipped"
    assert change["Summary"]["CancelNotifyDate"] == "2026-11-23T12:00:00.000Z"
    assert change["Summary"]["OrderItems"][0]["IsBuyerRequestedCancel"] is True


def test_feeds_cancellations_and_refunds_are_told(bench: Bench) -> None:
    bench.seed({}, {"id": OTHER, "status": "SHIPPED"})
    cancel = bench.make_feed(ACKNOWLEDGEMENT, envelope("OrderAcknowledgement", failure()))
    bench.make_feed(ADJUSTMENT, envelope("OrderAdjustment", refund(order=OTHER)))
    finished, posted = bench.notes("FEED_PROCESSING_FINISHED"), bench.notes("TRANSACTION_UPDATE")
    changed = bench.notes("ORDER_CHANGE")

    for each in finished:
        check_document(specs("amazon") / "notification.FeedProcessingFinishedNotification.json", each)
    check_document(specs("amazon") / "notification.TransactionUpdateNotification.json", posted[0])
    assert len(finished) == 2
    first = finished[0]["payload"]["feedProcessingFinishedNotification"]
    assert (first["feedId"], first["processingStatus"]) == (cancel, "DONE")
    assert first["resultFeedDocumentId"] == bench.feed(cancel)["resultFeedDocumentId"]
    assert [each["Payload"]["OrderChangeNotification"]["Summary"]["OrderStatus"] for each in changed] == [
        "Canceled"
    ]
    assert [each["Payload"]["TransactionUpdateNotification"]["TotalAmount"] for each in posted] == [
        {"CurrencyAmount": -19.95, "CurrencyCode": "USD"}
    ]


def test_only_subscribed_types_are_told(bench: Bench) -> None:
    bench.seed({}, notifications=["ORDER_CHANGE"])
    bench.send(ACKNOWLEDGEMENT, failure())

    assert [json.loads(each["Body"])["NotificationType"] for each in bench.receive()] == ["ORDER_CHANGE"]


def test_a_received_message_hides_for_its_visibility_timeout_and_then_comes_again(bench: Bench) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="buyer_request")
    first = bench.receive(MessageSystemAttributeNames=["All"])[0]

    assert bench.receive() == []
    assert first["MD5OfBody"] == hashlib.md5(first["Body"].encode(), usedforsecurity=False).hexdigest()
    assert first["Attributes"]["ApproximateReceiveCount"] == "1"
    assert first["Attributes"]["SentTimestamp"] == "1795435200000"
    bench.pass_time(seconds=30)
    again = bench.receive(AttributeNames=["ApproximateReceiveCount"], VisibilityTimeout=5)[0]
    assert (again["MessageId"], again["Attributes"]) == (first["MessageId"], {"ApproximateReceiveCount": "2"})
    assert again["ReceiptHandle"] != first["ReceiptHandle"]
    bench.pass_time(seconds=5)
    assert "Attributes" not in bench.receive()[0]


def test_only_the_newest_receipt_deletes(bench: Bench) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="buyer_request")
    old = bench.receive(VisibilityTimeout=0)[0]["ReceiptHandle"]
    new = bench.receive(VisibilityTimeout=0)[0]["ReceiptHandle"]

    assert bench.delete(old).status_code == 200
    assert len(bench.amazon.queue) == 1
    deleted = bench.delete(new)
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert bench.receive() == []
    assert bench.delete(new).status_code == 200
    assert bench.delete(old).status_code == 200


def test_a_notification_may_come_twice_under_one_id(bench: Bench) -> None:
    bench.seed({}, habits={"notification_copies": 2})
    bench.settle(order=ORDER, event="buyer_request")
    messages = bench.receive(VisibilityTimeout=0)
    ids = [json.loads(each["Body"])["NotificationMetadata"]["NotificationId"] for each in messages]

    assert (len(messages), len(set(ids)), len({each["MessageId"] for each in messages})) == (2, 1, 2)
    for each in messages:
        bench.delete(each["ReceiptHandle"])
    bench.settle(notification=ids[0])
    assert [each["Body"] for each in bench.receive()] == [messages[0]["Body"]]


def test_messages_come_one_at_a_time_unless_asked_and_in_no_promised_order(bench: Bench) -> None:
    bench.seed({}, {"id": OTHER}, habits={"newest_first": True})
    for order in (ORDER, OTHER):
        bench.settle(order=order, event="buyer_request")
    one = bench.sqs("ReceiveMessage", {"QueueUrl": QUEUE_URL, "VisibilityTimeout": 0}).json["Messages"]

    assert len(one) == 1
    assert OTHER in one[0]["Body"]
    assert len(bench.receive()) == 2


def test_a_message_is_kept_for_four_days(bench: Bench) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="buyer_request")
    bench.pass_time(days=4)

    assert bench.receive() == []


def test_the_queue_is_also_at_its_own_path(bench: Bench) -> None:
    body = {"QueueUrl": f"http://127.0.0.1:1/amazon{QUEUE_PATH}"}

    assert bench.sqs("ReceiveMessage", body, path=QUEUE_PATH).json == {}
    assert bench.sqs("ReceiveMessage", body, signed_path="/").json == {}


def test_a_waiting_receive_answers_at_once_where_a_message_is_there_or_the_house_closes(bench: Bench) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="buyer_request")
    assert len(bench.receive(WaitTimeSeconds=20)) == 1

    bench.world.close()
    assert bench.receive(WaitTimeSeconds=20) == []


@pytest.mark.parametrize(
    ("_case", "action", "body", "status", "kind"),
    [
        ("no queue", "ReceiveMessage", {}, 400, "com.amazon.coral.service#MissingRequiredParameterException"),
        ("no JSON", "ReceiveMessage", b"x", 400, "com.amazon.coral.service#MissingRequiredParameterException"),
        ("another queue", "ReceiveMessage", {"QueueUrl": QUEUE_URL + "x"}, 400, "com.amazonaws.sqs#QueueDoesNotExist"),
        ("eleven", "ReceiveMessage", {"QueueUrl": QUEUE_URL, "MaxNumberOfMessages": 11}, 400, "com.amazon.coral.service#InvalidParameterValueException"),
        ("none", "ReceiveMessage", {"QueueUrl": QUEUE_URL, "MaxNumberOfMessages": 0}, 400, "com.amazon.coral.service#InvalidParameterValueException"),
        ("21 seconds", "ReceiveMessage", {"QueueUrl": QUEUE_URL, "WaitTimeSeconds": 21}, 400, "com.amazon.coral.service#InvalidParameterValueException"),
        ("13 hours", "ReceiveMessage", {"QueueUrl": QUEUE_URL, "VisibilityTimeout": 46_800}, 400, "com.amazon.coral.service#InvalidParameterValueException"),
        ("no receipt", "DeleteMessage", {"QueueUrl": QUEUE_URL}, 400, "com.amazon.coral.service#MissingRequiredParameterException"),
        ("strange receipt", "DeleteMessage", {"QueueUrl": QUEUE_URL, "ReceiptHandle": "x"}, 400, "com.amazonaws.sqs#ReceiptHandleIsInvalid"),
        ("strange action", "PurgeQueue", {"QueueUrl": QUEUE_URL}, 404, "com.amazon.coral.service#UnknownOperationException"),
    ],
)  # fmt: skip
def test_a_wrong_call_of_the_queue_is_refused(
    bench: Bench, _case: str, action: str, body: Any, status: int, kind: str
) -> None:
    refused = bench.sqs(action, body)

    assert (refused.status_code, refused.json["__type"]) == (status, kind)
    assert refused.headers["content-type"] == "application/x-amz-json-1.0"
    assert refused.headers["x-amzn-query-error"].endswith(";Sender")
    assert refused.headers["x-amzn-requestid"]


def test_plain_json_is_not_the_aws_protocol(bench: Bench) -> None:
    refused = bench.sqs(
        "ReceiveMessage", {"QueueUrl": QUEUE_URL}, content_type="application/json", unsigned=["content-type"]
    )

    assert (refused.status_code, refused.headers["x-amzn-query-error"]) == (404, "InvalidAction;Sender")


@pytest.mark.parametrize(
    ("_case", "changes", "status", "code"),
    [
        ("no signature", {"authorization": ""}, 403, "MissingAuthenticationToken"),
        ("a bearer", {"authorization": "Bearer x"}, 400, "IncompleteSignature"),
        ("no date", {"date": ""}, 400, "IncompleteSignature"),
        ("another key", {"key": "AKIAOTHER"}, 403, "InvalidClientTokenId"),
        ("another secret", {"secret": "x"}, 403, "SignatureDoesNotMatch"),
        ("another region", {"region": "eu-west-1"}, 403, "SignatureDoesNotMatch"),
        ("another body", {"signed_body": b"{}"}, 403, "SignatureDoesNotMatch"),
        ("another path", {"signed_path": "/other"}, 403, "SignatureDoesNotMatch"),
        ("target not signed", {"unsigned": ["x-amz-target"]}, 403, "SignatureDoesNotMatch"),
        ("host not signed", {"unsigned": ["host"]}, 403, "SignatureDoesNotMatch"),
        ("16 minutes old", {"date": "20261123T114400Z"}, 400, "RequestExpired"),
        ("16 minutes early", {"date": "20261123T121600Z"}, 400, "RequestExpired"),
    ],
)  # fmt: skip
def test_a_badly_signed_call_is_refused(
    bench: Bench, _case: str, changes: dict[str, Any], status: int, code: str
) -> None:
    bench.seed({})
    bench.settle(order=ORDER, event="buyer_request")
    refused = bench.sqs("ReceiveMessage", {"QueueUrl": QUEUE_URL, "WaitTimeSeconds": 20}, **changes)

    assert (refused.status_code, refused.headers["x-amzn-query-error"]) == (status, f"{code};Sender")
    assert bench.amazon.queue[0].receipts == []


def test_a_signature_is_measured_by_the_real_time_when_the_vendor_runs_ahead(bench: Bench) -> None:
    bench.world.ahead = timedelta(hours=5)

    assert bench.receive() == []


def test_signatures_are_those_of_the_published_examples() -> None:
    """The "ListUsers" example of the signing guide, and get-vanilla and post-vanilla of the test suite."""
    listed = signature_v4(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        method="GET",
        path="/",
        query=[("Version", "2010-05-08"), ("Action", "ListUsers")],
        headers=[
            ("Host", "iam.amazonaws.com"),
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("X-Amz-Date", "20150830T123600Z"),
        ],
        date="20150830T123600Z",
        region="us-east-1",
        service="iam",
    )
    assert listed == "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    for method, expected in (
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ):
        vanilla = signature_v4(
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            method=method,
            path="/",
            headers=[("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")],
            date="20150830T123600Z",
            region="us-east-1",
            service="service",
        )
        assert vanilla == expected


def test_there_are_no_webhooks(bench: Bench) -> None:
    with pytest.raises(NoSuchObjectError):
        bench.amazon.event_for("ORDER_CHANGE", ORDER)


# ---------------------------------------------------------------- limits and faults


def test_a_rate_is_enforced_only_where_it_is_a_habit(bench: Bench) -> None:
    bench.seed({}, habits={"counts_calls": True})
    burst = RATES["create_feed_document"][1]
    answers = [bench.post(DOCUMENTS, {"contentType": XML}) for _ in range(burst + 1)]

    assert [each.status_code for each in answers] == [201] * burst + [429]
    assert answers[-1].json["errors"][0]["code"] == "QuotaExceeded"
    assert "x-amzn-ratelimit-limit" not in answers[-1].headers
    assert "retry-after" not in answers[-1].headers
    bench.pass_time(seconds=1)
    assert bench.post(DOCUMENTS, {"contentType": XML}).status_code == 429
    bench.pass_time(seconds=1)
    assert bench.post(DOCUMENTS, {"contentType": XML}).status_code == 201


def test_a_429_may_name_the_rate(bench: Bench) -> None:
    bench.seed(habits={"says_rate_on_429": True})
    bench.world.faults.add(Fault(Kind.STATUS, operation="get_order", status=429))
    refused = bench.get(f"{ORDERS}/{ORDER}")

    assert (refused.status_code, refused.headers["x-amzn-ratelimit-limit"]) == (429, "0.5")
    assert refused.json["errors"][0]["code"] == "QuotaExceeded"


def test_each_door_has_its_own_words_for_a_failure(bench: Bench) -> None:
    url = bench.post(DOCUMENTS, {"contentType": XML}).json["url"]
    bench.world.faults.add(Fault(Kind.STATUS, status=500, times=4))

    token = bench.grant()
    queue = bench.sqs("ReceiveMessage", {"QueueUrl": QUEUE_URL})
    upload = bench.open(url, "PUT", b"<x/>", Content_Type=XML)
    order = bench.get(f"{ORDERS}/{ORDER}")
    assert [each.status_code for each in (token, queue, upload, order)] == [500] * 4
    assert token.json["error"] == "server_error"
    assert queue.json["__type"] == "com.amazon.coral.service#InternalFailure"
    assert queue.headers["content-type"] == "application/x-amz-json-1.0"
    assert parse(upload.content).findtext("Code") == "InternalError"
    assert upload.headers["content-type"] == "application/xml"
    assert order.json["errors"][0]["code"] == "InternalFailure"


@pytest.mark.parametrize("kind", [Kind.REFUSE, Kind.REFUSE_AUTH])
def test_each_door_has_its_own_words_for_a_refusal(bench: Bench, kind: Kind) -> None:
    bench.headers()
    bench.world.faults.add(Fault(kind, times=3, code="PracticeCode"))

    token = bench.grant()
    queue = bench.sqs("ReceiveMessage", {"QueueUrl": QUEUE_URL})
    order = bench.get(f"{ORDERS}/{ORDER}")
    if kind is Kind.REFUSE:
        assert token.json["error"] == order.json["errors"][0]["code"] == "PracticeCode"
        assert queue.headers["x-amzn-query-error"] == "PracticeCode;Sender"
    else:
        assert token.json["error"] == "invalid_grant"
        assert queue.headers["x-amzn-query-error"] == "InvalidClientTokenId;Sender"
        assert (order.status_code, order.json["errors"][0]["code"]) == (403, "Unauthorized")


def test_a_feed_whose_answer_was_lost_is_found_in_the_list_and_paid_once(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"})
    bench.world.faults.add(Fault(Kind.LOST_REPLY, operation="create_feed", how=How.RESET))
    with pytest.raises(ConnectionCutError):
        bench.make_feed(ADJUSTMENT, envelope("OrderAdjustment", refund()))
    found = bench.get(FEEDS, feedTypes=ADJUSTMENT, createdSince="2026-11-23T12:00:00Z").json["feeds"]

    assert [each["processingStatus"] for each in found] == ["DONE"]
    assert bench.report(found[0]["feedId"])["Result"] == []
    assert len(bench.book("refund")) == 1


def test_a_lost_request_makes_no_feed(bench: Bench) -> None:
    bench.seed({"status": "SHIPPED"})
    bench.world.faults.add(Fault(Kind.LOST_REQUEST, operation="create_feed", how=How.RESET))
    with pytest.raises(ConnectionCutError):
        bench.make_feed(ADJUSTMENT, envelope("OrderAdjustment", refund()))

    assert bench.get(FEEDS, feedTypes=ADJUSTMENT).json["feeds"] == []
    assert bench.book() == []
