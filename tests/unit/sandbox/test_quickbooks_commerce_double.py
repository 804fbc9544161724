"""The practice QuickBooks Online is as strict as the real one, and its book holds exactly what happened."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from refundflow.sandbox.base import (
    Answer,
    Call,
    Cut,
    Event,
    Fault,
    How,
    Kind,
    NoSuchObjectError,
    Subscription,
    World,
)
from refundflow.sandbox.quickbooks_commerce import (
    CLIENT_ID,
    CLIENT_SECRET,
    REALM_ID,
    REFRESH_TOKEN,
    QuickBooksCommerce,
    read_query,
)
from tests.support.specs import check_document, check_response, load, specs

NAME = "quickbooks-commerce"
BASIC = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
JSON = {"accept": "application/json", "content-type": "application/json"}


def refund_of(amount: float = 25.5, **more: Any) -> dict[str, Any]:
    """The sheet's example of a refund receipt over one line."""
    return {
        "DocNumber": "RF-1042-1",
        "TxnDate": "2026-11-02",
        "CustomerRef": {"value": "61"},
        "DepositToAccountRef": {"value": "35"},
        "PaymentMethodRef": {"value": "4"},
        "PaymentRefNum": "re_3Abc",
        "PrivateNote": "refundflow rf_01J order 1042",
        "Line": [line_of(amount)],
        **more,
    }


def credit_of(amount: float, **more: Any) -> dict[str, Any]:
    return {"CustomerRef": {"value": "61"}, "PrivateNote": "rf_01J", "Line": [line_of(amount)], **more}


def line_of(amount: float, item: str = "10", **detail: Any) -> dict[str, Any]:
    named = {"ItemRef": {"value": item}, "Qty": 1, "UnitPrice": amount, "TaxCodeRef": {"value": "NON"}}
    return {
        "Amount": amount,
        "DetailType": "SalesItemLineDetail",
        "Description": "Clear acrylic sheet",
        "SalesItemLineDetail": {**named, **detail},
    }


class Company:
    """A practice company with a connected application, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.world = World([QuickBooksCommerce], clock=lambda: self.now, send=self.receive)
        self.seed(connection={"access_token": "practice-access"})
        self.headers = {**JSON, "authorization": "Bearer practice-access"}

    def receive(self, _url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((dict(headers), body))
        return 200

    def seed(self, **described: Any) -> dict[str, Any]:
        return self.world.seed({NAME: described})[NAME]

    def sale(self, kind: str = "sales_receipts", **more: Any) -> dict[str, Any]:
        described = {"number": "1042", "lines": [{"sku": "SHEET", "unit_price_minor": 2550}], **more}
        made: dict[str, Any] = self.seed(**{kind: [described]})[kind][0]
        return made

    def settle(self, **data: Any) -> dict[str, Any]:
        return self.world.settle(NAME, data)[0]

    def fault(self, kind: Kind, operation: str = "*", **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **query: Any
    ) -> Answer | Cut:
        parameters = {
            name: value for name, value in {"minorversion": 75, **query}.items() if value is not None
        }
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = self.headers if headers is None else headers
        path = f"/v3/company/{REALM_ID}/{path}"
        return self.world.receive(NAME, Call(method, path, urlencode(parameters), sent, content))

    def post(self, path: str, body: Any, **query: Any) -> Answer:
        answer = self.call("POST", path, body, **query)
        assert isinstance(answer, Answer)
        return answer

    def get(self, path: str, **query: Any) -> Answer:
        answer = self.call("GET", path, **query)
        assert isinstance(answer, Answer)
        return answer

    def query(self, text: str) -> Answer:
        return self.get("query", query=text)

    def refresh(self, token: str, basic: str = BASIC, **form: str) -> Answer:
        fields = {"grant_type": "refresh_token", "refresh_token": token, **form}
        headers = {"authorization": basic, "content-type": "application/x-www-form-urlencoded"}
        body = urlencode(fields).encode()
        answer = self.world.receive(NAME, Call("POST", "/oauth2/v1/tokens/bearer", "", headers, body))
        assert isinstance(answer, Answer)
        return answer

    def void_sale(self, sale: dict[str, Any], kind: str = "salesreceipt", **query: Any) -> Answer:
        body = {"Id": sale["Id"], "SyncToken": sale["SyncToken"], "sparse": True}
        return self.post(kind, body, operation="update", include="void", **query)

    def void_invoice(self, invoice: dict[str, Any], **query: Any) -> Answer:
        body = {"Id": invoice["Id"], "SyncToken": invoice["SyncToken"]}
        return self.post("invoice", body, operation="void", **query)

    def book(self, effect: str | None = None) -> list[dict[str, Any]]:
        return self.world.vendor(NAME).book.lines(effect)

    @property
    def effects(self) -> list[str]:
        return [line["effect"] for line in self.book()]


@pytest.fixture
def company() -> Iterator[Company]:
    company = Company()
    yield company
    company.world.close()


def error_of(answer: Answer) -> tuple[int, str]:
    fault = answer.body["Fault"]
    assert set(fault["Error"][0]) == {"Message", "Detail", "code", "element"}
    assert "time" in answer.body
    return answer.status, fault["Error"][0]["code"]


def shown(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    [(_, found)] = [(name, value) for name, value in answer.body.items() if name != "time"]
    return dict(found)


def found_by(answer: Answer, kind: str) -> list[str]:
    return [each["DocNumber"] for each in shown(answer).get(kind, [])]


# ---------------------------------------------------------------- tokens


def test_a_refresh_gives_an_hour_of_access_and_the_next_refresh_token(company: Company) -> None:
    answer = company.refresh(REFRESH_TOKEN)

    assert (answer.status, answer.body["expires_in"], answer.body["token_type"]) == (200, 3600, "bearer")
    assert answer.body["x_refresh_token_expires_in"] == 100 * 86400
    assert answer.body["refresh_token"] != REFRESH_TOKEN
    company.headers["authorization"] = f"Bearer {answer.body['access_token']}"
    assert company.get("preferences").status == 200
    company.now += timedelta(seconds=3599)
    assert company.get("preferences").status == 200
    company.now += timedelta(seconds=1)
    assert error_of(company.get("preferences")) == (401, "3200")


def test_a_replaced_refresh_token_is_an_invalid_grant_and_the_new_one_works_on(company: Company) -> None:
    first = company.refresh(REFRESH_TOKEN)
    old = company.refresh(REFRESH_TOKEN)

    assert (old.status, old.body["error"]) == (400, "invalid_grant")
    assert company.refresh(first.body["refresh_token"]).status == 200


def test_of_two_refreshes_at_once_one_loses(company: Company) -> None:
    company.fault(Kind.LATENCY, "token", latency_s=0.05, times=2)
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(company.refresh(REFRESH_TOKEN))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(each.status for each in answers) == [200, 400]
    assert [each.body["error"] for each in answers if each.status == 400] == ["invalid_grant"]


def test_a_lost_answer_to_a_refresh_loses_the_connection_until_a_person_renews_it(company: Company) -> None:
    company.fault(Kind.LOST_REPLY, "token")
    call = Call(
        "POST",
        "/oauth2/v1/tokens/bearer",
        "",
        {"authorization": BASIC, "content-type": "application/x-www-form-urlencoded"},
        urlencode({"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}).encode(),
    )
    assert company.world.receive(NAME, call) == Cut(How.RESET)
    assert company.refresh(REFRESH_TOKEN).body["error"] == "invalid_grant"

    renewed = company.settle(connection="renewed")["refresh_token"]
    assert company.refresh(renewed).status == 200


def test_a_seeded_grace_lets_the_loser_have_the_same_new_token(company: Company) -> None:
    company.seed(settings={"refresh_grace_s": 60})
    first = company.refresh(REFRESH_TOKEN)
    company.now += timedelta(seconds=59)
    assert company.refresh(REFRESH_TOKEN).body["refresh_token"] == first.body["refresh_token"]
    company.now += timedelta(seconds=1)
    assert company.refresh(REFRESH_TOKEN).status == 400


def test_with_daily_rotation_the_token_changes_only_after_a_day(company: Company) -> None:
    company.seed(settings={"refresh_rotation": "daily"})
    assert company.refresh(REFRESH_TOKEN).body["refresh_token"] == REFRESH_TOKEN
    company.now += timedelta(days=1)
    assert company.refresh(REFRESH_TOKEN).body["refresh_token"] != REFRESH_TOKEN
    assert company.refresh(REFRESH_TOKEN).status == 400


def test_a_refresh_token_dies_after_100_idle_days_and_after_five_years_of_use(company: Company) -> None:
    token = company.refresh(REFRESH_TOKEN).body["refresh_token"]
    while (answer := company.refresh(token)).status == 200:
        assert answer.body["x_refresh_token_expires_in"] <= 100 * 86400
        token = answer.body["refresh_token"]
        company.now += timedelta(days=99)
    assert company.now == datetime(2026, 11, 23, 12, 0, tzinfo=UTC) + timedelta(days=19 * 99)

    company.world.reset(NAME)
    company.now += timedelta(days=100)
    assert company.refresh(REFRESH_TOKEN).body["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("_case", "change", "wanted"),
    [
        ("another client", {"basic": "Basic " + base64.b64encode(b"x:y").decode()}, (401, "invalid_client")),
        ("no client", {"basic": ""}, (401, "invalid_client")),
        ("not base64", {"basic": "Basic ***"}, (401, "invalid_client")),
        ("another grant", {"grant_type": "client_credentials"}, (400, "unsupported_grant_type")),
        ("no token", {"refresh_token": ""}, (400, "invalid_request")),
        ("an unknown token", {"refresh_token": "strange"}, (400, "invalid_grant")),
    ],
)
def test_a_refusal_at_the_token_endpoint_rotates_nothing(
    company: Company, _case: str, change: dict[str, str], wanted: tuple[int, str]
) -> None:
    answer = company.refresh(change.pop("refresh_token", REFRESH_TOKEN), **change)

    assert (answer.status, answer.body["error"]) == wanted
    assert company.refresh(REFRESH_TOKEN).status == 200


def test_a_refresh_may_end_older_access_and_tell_the_hard_limit_where_seeded(company: Company) -> None:
    company.seed(settings={"is_access_ended_by_refresh": True, "is_hard_expiry_told": True})
    answer = company.refresh(REFRESH_TOKEN)

    assert answer.body["x_refresh_token_hard_expires_in"] == 5 * 365 * 86400
    assert error_of(company.get("preferences")) == (401, "3200")


def test_a_revoked_connection_refuses_both_kinds_of_token(company: Company) -> None:
    assert company.settle(connection="revoked") == {}
    assert error_of(company.get("preferences")) == (401, "3200")
    assert company.refresh(REFRESH_TOKEN).body["error"] == "invalid_grant"


# ---------------------------------------------------------------- at the door


def test_every_answer_names_its_intuit_tid(company: Company) -> None:
    company.headers["authorization"] = "Bearer wrong"
    for answer in (company.get("preferences"), company.refresh(REFRESH_TOKEN), company.refresh("x")):
        assert answer.headers["intuit_tid"].startswith("1-")


def test_another_company_is_refused(company: Company) -> None:
    call = Call("GET", "/v3/company/1/preferences", "minorversion=75", company.headers)
    answer = company.world.receive(NAME, call)
    assert isinstance(answer, Answer)
    assert error_of(answer) == (403, "3100")


@pytest.mark.parametrize(
    ("_case", "version", "wanted"),
    [("absent", None, (400, "2020")), ("a word", "new", (400, "2090")), ("too low is ignored", "4", None)],
)
def test_minorversion_is_required_and_a_number(
    company: Company, _case: str, version: str | None, wanted: tuple[int, str] | None
) -> None:
    answer = company.post("refundreceipt", refund_of(), minorversion=version)

    if wanted is None:
        assert answer.status == 200
    else:
        assert error_of(answer) == wanted
    assert len(company.book()) == (wanted is None)


def test_minorversion_may_be_left_out_where_seeded(company: Company) -> None:
    company.seed(settings={"is_minorversion_required": False})
    assert company.get("preferences", minorversion=None).status == 200


def test_who_does_not_ask_for_json_gets_xml_though_the_refund_is_booked(company: Company) -> None:
    del company.headers["accept"]
    answer = company.post("refundreceipt", refund_of())

    assert (answer.status, answer.content_type) == (200, "application/xml")
    assert b"<IntuitResponse><RefundReceipt>" in answer.payload
    assert company.effects == ["record_refund"]


def test_a_body_that_is_not_json_books_nothing(company: Company) -> None:
    company.headers["content-type"] = "application/xml"
    assert error_of(company.post("refundreceipt", b"<a/>")) == (415, "2010")
    company.headers["content-type"] = "application/json; charset=utf-8"
    assert error_of(company.post("refundreceipt", b"{")) == (400, "2010")
    assert error_of(company.post("refundreceipt", [1])) == (400, "2010")
    assert company.book() == []


def test_an_unknown_path_is_a_fault_too(company: Company) -> None:
    assert error_of(company.get("salesorder/1")) == (404, "500")
    assert error_of(company.get("salesreceipt/1")) == (400, "610")


# ---------------------------------------------------------------- refund receipts


def test_a_refund_receipt_is_booked_with_amount_reference_and_request_id(company: Company) -> None:
    receipt = shown(company.post("refundreceipt", refund_of(), requestid="step:1"))

    assert (receipt["TotalAmt"], receipt["DocNumber"], receipt["SyncToken"]) == (25.5, "RF-1042-1", "0")
    assert receipt["CustomerRef"] == {"value": "61", "name": "Practice Customer"}
    assert [
        (x["effect"], x["id"], x["amount_minor"], x["currency"], x["reference"], x["idempotency_key"])
        for x in company.book()
    ] == [("record_refund", receipt["Id"], 2550, "USD", "refundflow rf_01J order 1042", "step:1")]
    assert company.book()[0]["target"] == {
        "customer": "61",
        "number": "RF-1042-1",
        "account": "35",
        "payment": "re_3Abc",
    }
    assert shown(company.get(f"refundreceipt/{receipt['Id']}")) == receipt


def test_nothing_ties_a_refund_to_a_sale_so_the_same_money_is_booked_twice(company: Company) -> None:
    company.sale()
    for _ in range(2):
        assert company.post("refundreceipt", refund_of(9999.99)).status == 200
    assert [line["amount_minor"] for line in company.book("record_refund")] == [999999, 999999]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in refund_of().items() if key != name}


@pytest.mark.parametrize(
    ("_case", "body", "code"),
    [
        ("no account", without("DepositToAccountRef"), "2020"),
        ("no lines", without("Line"), "2020"),
        ("empty lines", refund_of(Line=[]), "2020"),
        ("lines that are an object", refund_of(Line={"Amount": 1}), "2010"),
        ("no type of line", refund_of(Line=[{"Amount": 1}]), "2020"),
        ("a strange type of line", refund_of(Line=[{"Amount": 1, "DetailType": "Sale"}]), "2170"),
        ("no detail", refund_of(Line=[{"Amount": 1, "DetailType": "SalesItemLineDetail"}]), "2020"),
        ("no amount", refund_of(Line=[{"DetailType": "SalesItemLineDetail"}]), "2020"),
        ("no item", refund_of(Line=[line_of(1, ItemRef=None)]), "2020"),
        ("a strange item", refund_of(Line=[line_of(1, item="999")]), "2500"),
        ("a strange tax code", refund_of(Line=[line_of(1, TaxCodeRef={"value": "VAT"})]), "2500"),
        ("a strange customer", refund_of(CustomerRef={"value": "62"}), "2500"),
        ("an inactive customer", refund_of(CustomerRef={"value": "gone"}), "610"),
        ("a strange account", refund_of(DepositToAccountRef={"value": "1"}), "2500"),
        ("an income account", refund_of(DepositToAccountRef={"value": "79"}), "6000"),
        ("a strange payment method", refund_of(PaymentMethodRef={"value": "5"}), "2500"),
        ("a bare reference", refund_of(CustomerRef="61"), "2010"),
        ("not the product", refund_of(Line=[line_of(25.5, Qty=2)]), "6070"),
        ("a negative amount", refund_of(-1), "6000"),
        ("a negative quantity", refund_of(Line=[line_of(1, Qty=-1, UnitPrice=-1)]), "6000"),
        ("a text for an amount", refund_of(Line=[line_of(1) | {"Amount": "1.00"}]), "2090"),
        ("true for an amount", refund_of(Line=[line_of(1) | {"Amount": True}]), "2090"),
        ("a third decimal", refund_of(1.005), "2090"),
        ("a long number", refund_of(DocNumber="R" * 22), "2050"),
        ("a long payment reference", refund_of(PaymentRefNum="r" * 22), "2050"),
        ("a long note", refund_of(PrivateNote="n" * 4001), "2050"),
        ("a number for a number", refund_of(DocNumber=1042), "2010"),
        ("a strange date", refund_of(TxnDate="02.11.2026"), "2010"),
        ("a strange property", refund_of(OrderId="1042"), "2010"),
        ("another currency", refund_of(CurrencyRef={"value": "EUR"}), "6000"),
        ("only a discount", refund_of(Line=[{"Amount": 1, "DetailType": "DiscountLineDetail"}]), "6000"),
    ],
)
def test_a_refund_receipt_that_does_not_fit_is_refused_and_not_booked(
    company: Company, _case: str, body: dict[str, Any], code: str
) -> None:
    company.seed(customers=[{"id": "gone", "name": "Gone", "is_active": False}])

    assert error_of(company.post("refundreceipt", body)) == (400, code)
    assert company.book() == []
    assert shown(company.query("select * from RefundReceipt")) == {}


def test_lengths_at_the_limit_discounts_and_subtotals_are_welcome(company: Company) -> None:
    lines = [
        line_of(30),
        {"Amount": 4.5, "DetailType": "DiscountLineDetail"},
        {"DetailType": "DescriptionOnly", "Description": "Thank you"},
        {"Amount": 25.5, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}},
    ]
    body = refund_of(Line=lines, DocNumber="R" * 21, PaymentRefNum="r" * 21, PrivateNote="n" * 4000)
    del body["CustomerRef"]
    receipt = shown(company.post("refundreceipt", body))

    assert receipt["TotalAmt"] == 25.5
    assert [line["DetailType"] for line in receipt["Line"]].count("SubTotalLineDetail") == 1


def test_automated_sales_tax_adds_what_the_caller_did_not_ask_for(company: Company) -> None:
    taxed = [line_of(100, TaxCodeRef={"value": "TAX"}), line_of(10)]
    receipt = shown(company.post("refundreceipt", refund_of(Line=taxed, TxnTaxDetail={"TotalTax": 0})))

    assert (receipt["TotalAmt"], receipt["TxnTaxDetail"]["TotalTax"]) == (118.25, 8.25)
    assert company.book()[0]["amount_minor"] == 11825


def test_without_automated_tax_the_callers_word_counts(company: Company) -> None:
    company.seed(settings={"is_tax_automated": False})
    body = refund_of(Line=[line_of(100, TaxCodeRef={"value": "TAX"})], TxnTaxDetail={"TotalTax": 7.5})
    assert shown(company.post("refundreceipt", body))["TotalAmt"] == 107.5


def test_amounts_follow_the_currency_of_the_customer_where_many_are_in_use(company: Company) -> None:
    company.seed(
        settings={"is_multicurrency": True}, customers=[{"id": "70", "name": "Tokyo", "currency": "JPY"}]
    )
    body = refund_of(2550, CustomerRef={"value": "70"}, CurrencyRef={"value": "JPY"})
    assert shown(company.post("refundreceipt", body))["CurrencyRef"] == {"value": "JPY"}
    assert error_of(company.post("refundreceipt", {**body, "Line": [line_of(25.5)]})) == (400, "2090")
    assert [(x["amount_minor"], x["currency"]) for x in company.book()] == [(2550, "JPY")]


def test_a_wrong_refund_receipt_is_deleted_and_then_not_there(company: Company) -> None:
    receipt = shown(company.post("refundreceipt", refund_of()))
    named = {"Id": receipt["Id"], "SyncToken": "0"}
    gone = shown(company.post("refundreceipt", named, operation="delete"))

    assert gone == {"status": "Deleted", "domain": "QBO", "Id": receipt["Id"]}
    assert error_of(company.get(f"refundreceipt/{receipt['Id']}")) == (400, "610")
    assert error_of(company.post("refundreceipt", named, operation="delete")) == (400, "610")
    assert shown(company.query("select * from RefundReceipt")) == {}
    assert company.effects == ["record_refund", "delete_refund_receipt"]
    assert company.book()[1]["amount_minor"] == 2550


def test_sales_and_payments_are_not_made_over_the_practice_api(company: Company) -> None:
    assert error_of(company.post("salesreceipt", refund_of())) == (400, "500")
    assert error_of(company.post("refundreceipt", refund_of(), operation="void")) == (400, "500")
    assert company.book() == []


# ---------------------------------------------------------------- request ids and document numbers


def test_the_same_request_id_gives_the_first_answer_and_books_once(company: Company) -> None:
    answers = [company.post("refundreceipt", refund_of(), requestid="step:1") for _ in range(3)]

    assert answers[0].body == answers[1].body == answers[2].body
    assert company.effects == ["record_refund"]


def test_a_used_request_id_answers_for_the_first_call_whatever_the_second_asks(company: Company) -> None:
    sale = company.sale()
    first = company.post("refundreceipt", refund_of(), requestid="step:1")

    assert company.post("refundreceipt", refund_of(99), requestid="step:1").body == first.body
    assert company.void_sale(sale, requestid="step:1").body == first.body
    assert company.effects == ["record_refund"]
    assert shown(company.get(f"salesreceipt/{sale['Id']}"))["TotalAmt"] == 25.5


def test_a_repeated_request_id_is_error_600_where_seeded(company: Company) -> None:
    company.seed(settings={"repeated_requestid": "refuse"})
    assert company.post("refundreceipt", refund_of(), requestid="step:1").status == 200
    assert error_of(company.post("refundreceipt", refund_of(), requestid="step:1")) == (400, "600")
    assert company.effects == ["record_refund"]


def test_a_request_id_is_error_600_while_its_first_call_is_at_work(company: Company) -> None:
    company.fault(Kind.LATENCY, "create_refund_receipt", latency_s=30)
    answers: list[Answer] = []
    first = threading.Thread(
        target=lambda: answers.append(company.post("refundreceipt", refund_of(), requestid="step:1"))
    )
    first.start()
    vendor = company.world.vendor(NAME)
    assert isinstance(vendor, QuickBooksCommerce)
    while "step:1" not in vendor.request_ids:
        first.join(0.001)
    second = company.post("refundreceipt", refund_of(), requestid="step:1")
    company.world.stopping.set()
    first.join()

    assert error_of(second) == (400, "600")
    assert [each.status for each in answers] == [200]
    assert company.effects == ["record_refund"]


def test_a_request_id_is_forgotten_after_its_life_and_then_books_again(company: Company) -> None:
    company.seed(settings={"requestid_life_s": 600})
    company.post("refundreceipt", refund_of(), requestid="step:1")
    company.now += timedelta(seconds=599)
    company.post("refundreceipt", refund_of(), requestid="step:1")
    assert company.effects == ["record_refund"]

    company.now += timedelta(seconds=1)
    company.post("refundreceipt", refund_of(), requestid="step:1")
    assert company.effects == ["record_refund", "record_refund"]


def test_a_refused_call_leaves_its_request_id_free(company: Company) -> None:
    assert company.post("refundreceipt", without("Line"), requestid="step:1").status == 400
    assert company.post("refundreceipt", refund_of(), requestid="step:1").status == 200


@pytest.mark.parametrize("key", ["", "k" * 51])
def test_a_request_id_has_1_to_50_characters(company: Company, key: str) -> None:
    assert error_of(company.post("refundreceipt", refund_of(), requestid=key)) == (400, "2050")
    assert company.book() == []


def test_a_duplicate_number_is_accepted_unless_the_company_refuses_it(company: Company) -> None:
    for key in ("1", "2"):
        assert company.post("refundreceipt", refund_of(), requestid=key).status == 200
    assert company.effects == ["record_refund", "record_refund"]


def test_a_duplicate_number_is_error_6140_where_the_company_refuses_it(company: Company) -> None:
    company.seed(settings={"is_duplicate_number_refused": True})
    first = shown(company.post("refundreceipt", refund_of()))
    again = company.post("refundreceipt", refund_of())

    assert error_of(again) == (400, "6140")
    assert f"TxnId={first['Id']}" in again.body["Fault"]["Error"][0]["Detail"]
    # Another kind of transaction may have the same number, and so may one whose namesake was deleted.
    assert company.post("creditmemo", credit_of(1, DocNumber="RF-1042-1")).status == 200
    company.post("refundreceipt", {"Id": first["Id"], "SyncToken": "0"}, operation="delete")
    assert company.post("refundreceipt", refund_of()).status == 200
    assert company.effects == ["record_refund", "credit_note", "delete_refund_receipt", "record_refund"]


def test_without_custom_numbering_our_number_is_silently_replaced(company: Company) -> None:
    company.seed(settings={"is_custom_numbering": False})
    company.sale(number="1042")
    receipt = shown(company.post("refundreceipt", refund_of()))

    assert receipt["DocNumber"] == "1043"
    assert shown(company.get("preferences"))["SalesFormsPrefs"]["CustomTxnNumbers"] is False
    assert shown(company.query("select * from RefundReceipt where DocNumber = 'RF-1042-1'")) == {}


def test_with_custom_numbering_a_document_without_a_number_has_none(company: Company) -> None:
    assert "DocNumber" not in shown(company.post("refundreceipt", without("DocNumber")))


# ---------------------------------------------------------------- credit memos


def test_a_credit_memo_lowers_the_open_invoice_and_is_booked_as_a_credit_note(company: Company) -> None:
    invoice = company.sale("invoices", payments=[{"amount_minor": 1000, "transaction": "pi_1"}])
    assert invoice["Balance"] == 15.5
    memo = shown(company.post("creditmemo", credit_of(15.5, DocNumber="RF-1042-1"), requestid="k"))

    assert (memo["TotalAmt"], memo["RemainingCredit"], memo["Balance"]) == (15.5, 0.0, 0.0)
    assert shown(company.get(f"invoice/{invoice['Id']}"))["Balance"] == 0.0
    assert [
        (x["effect"], x["id"], x["amount_minor"], x["currency"], x["reference"], x["idempotency_key"])
        for x in company.book()
    ] == [("credit_note", memo["Id"], 1550, "USD", "rf_01J", "k")]


def test_credit_goes_to_the_oldest_open_invoice_of_the_customer_not_the_one_meant(company: Company) -> None:
    old = company.sale("invoices", number="1001", date="2026-10-01")
    meant = company.sale("invoices", number="1042", date="2026-11-01")
    other = company.sale("invoices", number="1000", date="2026-09-01", customer="Somebody else")
    memo = shown(company.post("creditmemo", credit_of(30, InvoiceRef={"value": meant["Id"]})))

    balances = [shown(company.get(f"invoice/{each['Id']}"))["Balance"] for each in (old, meant, other)]
    assert balances == [0.0, 21.0, 25.5]
    assert memo["LinkedTxn"] == [{"TxnId": each["Id"], "TxnType": "Invoice"} for each in (old, meant)]


def test_credit_stays_with_the_memo_where_the_company_does_not_apply_it(company: Company) -> None:
    company.seed(settings={"is_credit_applied": False})
    invoice = company.sale("invoices")
    memo = shown(company.post("creditmemo", credit_of(25.5)))

    assert (memo["RemainingCredit"], memo["LinkedTxn"]) == (25.5, [])
    assert shown(company.get(f"invoice/{invoice['Id']}"))["Balance"] == 25.5
    assert shown(company.get("preferences"))["SalesFormsPrefs"]["AutoApplyCredit"] is False


@pytest.mark.parametrize(
    ("_case", "change", "code"),
    [
        ("no customer", {"CustomerRef": None}, "2020"),
        ("an account", {"DepositToAccountRef": {"value": "35"}}, "2010"),
        ("a strange invoice", {"InvoiceRef": {"value": "7"}}, "2500"),
    ],
)
def test_a_credit_memo_that_does_not_fit_is_refused(
    company: Company, _case: str, change: dict[str, Any], code: str
) -> None:
    assert error_of(company.post("creditmemo", credit_of(1, **change))) == (400, code)
    assert company.book() == []


def test_an_applied_credit_memo_is_not_deleted(company: Company) -> None:
    company.sale("invoices")
    memo = shown(company.post("creditmemo", credit_of(1)))
    named = {"Id": memo["Id"], "SyncToken": memo["SyncToken"]}
    assert error_of(company.post("creditmemo", named, operation="delete")) == (400, "6000")
    assert company.effects == ["credit_note"]


# ---------------------------------------------------------------- voids


def test_a_sales_receipt_is_voided_by_update_and_keeps_its_number(company: Company) -> None:
    sale = company.sale(note="order 1042")
    void = shown(company.void_sale(sale, requestid="k"))

    assert (void["TotalAmt"], void["PrivateNote"], void["DocNumber"]) == (0.0, "Voided", "1042")
    assert void["SyncToken"] == "1"
    assert {line["Amount"] for line in void["Line"]} == {0.0}
    assert [
        (x["effect"], x["id"], x["amount_minor"], x["currency"], x["reference"], x["idempotency_key"])
        for x in company.book()
    ] == [("void_invoice", sale["Id"], 2550, "USD", "order 1042", "k")]
    assert company.book()[0]["target"] == {"sales_receipt": sale["Id"], "number": "1042"}


def test_an_unpaid_invoice_is_voided_by_operation_void(company: Company) -> None:
    invoice = company.sale("invoices")
    void = shown(company.void_invoice(invoice))

    assert (void["TotalAmt"], void["Balance"], void["PrivateNote"]) == (0.0, 0.0, "Voided")
    assert [(x["effect"], x["amount_minor"], x["target"]) for x in company.book()] == [
        ("void_invoice", 2550, {"invoice": invoice["Id"], "number": "1042"})
    ]


def test_the_invoices_form_of_a_void_does_not_work_on_a_sales_receipt(company: Company) -> None:
    sale = company.sale()
    named = {"Id": sale["Id"], "SyncToken": "0", "sparse": True}
    assert error_of(company.post("salesreceipt", named, operation="void")) == (400, "500")
    assert company.book() == []


@pytest.mark.parametrize(
    ("_case", "kind", "query"),
    [
        ("the sales receipt's form on an invoice", "invoice", {"operation": "update", "include": "void"}),
        ("include alone", "salesreceipt", {"include": "void"}),
        ("update alone", "salesreceipt", {"operation": "update"}),
    ],
)
def test_a_misspelt_void_is_answered_200_and_voids_nothing(
    company: Company, _case: str, kind: str, query: dict[str, str]
) -> None:
    sale = company.sale("invoices" if kind == "invoice" else "sales_receipts")
    answer = company.post(kind, {"Id": sale["Id"], "SyncToken": "0", "sparse": True}, **query)

    assert shown(answer)["TotalAmt"] == 25.5
    assert company.effects == ["update_document"]


def test_a_void_by_update_that_is_not_sparse_is_refused(company: Company) -> None:
    sale = company.sale()
    named = {"Id": sale["Id"], "SyncToken": "0"}
    answer = company.post("salesreceipt", named, operation="update", include="void")
    assert error_of(answer) == (400, "2020")
    assert company.book() == []


def test_a_paid_invoice_is_not_voided_until_its_payment_is(company: Company) -> None:
    invoice = company.sale("invoices", payments=[{"amount_minor": 2550, "transaction": "pi_1"}])
    assert error_of(company.void_invoice(invoice)) == (400, "6000")
    payment = shown(company.query("select * from Payment"))["Payment"][0]
    assert (payment["TotalAmt"], payment["UnappliedAmt"], payment["PaymentRefNum"]) == (25.5, 0.0, "pi_1")

    assert shown(company.void_sale(payment, "payment"))["TotalAmt"] == 0.0
    stale = company.void_invoice(invoice)
    assert error_of(stale) == (400, "5010")
    invoice = shown(company.get(f"invoice/{invoice['Id']}"))
    assert invoice["Balance"] == 25.5
    assert company.void_invoice(invoice).status == 200
    assert [(x["effect"], x["amount_minor"]) for x in company.book()] == [
        ("void_payment", 2550),
        ("void_invoice", 2550),
    ]


def test_a_paid_invoice_can_be_voided_where_seeded_and_frees_the_payment(company: Company) -> None:
    company.seed(settings={"is_paid_invoice_voidable": True, "is_note_kept_on_void": True})
    invoice = company.sale("invoices", note="x", payments=[{"amount_minor": 2550}])
    assert shown(company.void_invoice(invoice))["PrivateNote"] == "Voided - x"
    assert shown(company.query("select * from Payment"))["Payment"][0]["UnappliedAmt"] == 25.5


def test_an_authorisation_that_was_never_captured_leaves_the_invoice_open(company: Company) -> None:
    invoice = company.sale("invoices", payments=[{"amount_minor": 2550, "is_captured": False}])
    assert invoice["Balance"] == 25.5
    assert company.void_invoice(invoice).status == 200


def test_a_second_void_is_refused_by_default_and_never_booked_again(company: Company) -> None:
    sale = shown(company.void_sale(company.sale()))
    assert error_of(company.void_sale(sale)) == (400, "6000")
    company.seed(settings={"is_second_void_refused": False})
    assert shown(company.void_sale(sale))["SyncToken"] == "1"
    assert company.effects == ["void_invoice"]


def test_a_deposited_sales_receipt_is_error_6540_until_it_leaves_the_deposit(company: Company) -> None:
    sale = company.sale(is_deposited=True)
    assert [each["TxnType"] for each in sale["LinkedTxn"]] == ["Deposit"]
    assert error_of(company.void_sale(sale)) == (400, "6540")
    company.settle(sales_receipt="1042", is_deposited=False)
    assert company.void_sale(sale).status == 200
    assert company.effects == ["void_invoice"]


def test_closed_books_refuse_every_change_dated_in_the_period(company: Company) -> None:
    sale = company.sale(date="2026-10-31")
    receipt = shown(company.post("refundreceipt", refund_of(TxnDate="2026-10-31")))
    company.settle(book_close_date="2026-10-31")

    named = {"Id": receipt["Id"], "SyncToken": "0"}
    refused = [
        company.post("refundreceipt", refund_of(TxnDate="2026-10-31")),
        company.void_sale(sale),
        company.post("refundreceipt", named, operation="delete"),
        company.post("refundreceipt", {**named, "sparse": True, "TxnDate": "2026-11-01"}),
    ]
    assert [error_of(each) for each in refused] == [(400, "6210")] * 4
    assert company.effects == ["record_refund"]
    assert company.post("refundreceipt", refund_of(TxnDate="2026-11-01")).status == 200
    preferences = shown(company.get("preferences"))
    assert preferences["AccountingInfoPrefs"]["BookCloseDate"] == "2026-10-31"


# ---------------------------------------------------------------- the lock and updates


@pytest.mark.parametrize(
    ("_case", "named", "code"),
    [
        ("a stale token", {"SyncToken": "0"}, "5010"),
        ("a token from the future", {"SyncToken": "2"}, "5010"),
        ("no token", {"SyncToken": None}, "2010"),
        ("a number", {"SyncToken": 1}, "2010"),
        ("a strange id", {"Id": "1"}, "610"),
    ],
)
def test_only_who_has_read_the_newest_version_may_change_it(
    company: Company, _case: str, named: dict[str, Any], code: str
) -> None:
    sale = company.sale()
    newest = company.settle(document=sale["Id"], edited={"PrivateNote": "by hand"})
    body = {"Id": sale["Id"], "SyncToken": newest["SyncToken"], "sparse": True, **named}

    assert error_of(company.post("salesreceipt", body, operation="update", include="void")) == (400, code)
    assert company.book() == []
    assert company.void_sale(newest).status == 200


def test_a_missing_id_or_sync_token_is_error_2020(company: Company) -> None:
    assert error_of(company.post("invoice", {"SyncToken": "0"}, operation="void")) == (400, "2020")
    sale = company.sale()
    assert error_of(company.post("salesreceipt", {"Id": sale["Id"], "sparse": True})) == (400, "2020")


def test_a_sparse_update_changes_the_note_alone(company: Company) -> None:
    sale = company.sale(note="before")
    body = {"Id": sale["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "rf_01J"}
    changed = shown(company.post("salesreceipt", body))

    differing = {name for name in sale if sale[name] != changed[name]}
    assert differing == {"PrivateNote", "SyncToken"}
    assert [(x["effect"], x["reference"]) for x in company.book()] == [("update_document", "rf_01J")]


def test_lines_in_a_sparse_update_replace_all_lines(company: Company) -> None:
    receipt = shown(company.post("refundreceipt", refund_of(Line=[line_of(10), line_of(20)])))
    body = {"Id": receipt["Id"], "SyncToken": "0", "sparse": True, "Line": [line_of(5)]}
    assert shown(company.post("refundreceipt", body))["TotalAmt"] == 5.0


def test_a_full_update_loses_what_is_not_sent(company: Company) -> None:
    sale = company.sale(note="before")
    body = {"Id": sale["Id"], "SyncToken": "0", "CustomerRef": {"value": "61"}, "Line": [line_of(1)]}
    changed = shown(company.post("salesreceipt", body))

    assert (changed["TotalAmt"], "PrivateNote" in changed, "DocNumber" in changed) == (1.0, False, False)
    bare = {"Id": sale["Id"], "SyncToken": "1"}
    assert error_of(company.post("salesreceipt", bare)) == (400, "2020")


# ---------------------------------------------------------------- stock


def stocked(company: Company, kind: str = "sales_receipts") -> dict[str, Any]:
    line = {"id": "1", "sku": "SHEET", "quantity": 3, "unit_price_minor": 1000, "stock": 7}
    return company.sale(kind, lines=[line], shipping_minor=500)


def stock(company: Company) -> Any:
    return company.settle(item="SHEET")["QtyOnHand"]


def test_a_refund_line_with_an_inventory_item_puts_the_goods_back_on_the_shelf(company: Company) -> None:
    sale = stocked(company)
    assert sale["TotalAmt"] == 35.0
    item = sale["Line"][0]["SalesItemLineDetail"]["ItemRef"]["value"]
    lines = [line_of(20, item, Qty=2, UnitPrice=10), line_of(5)]
    receipt = shown(company.post("refundreceipt", refund_of(Line=lines), requestid="k"))
    company.post("refundreceipt", refund_of(Line=lines), requestid="k")

    [line] = company.book("restock")
    assert (line["id"], line["sku"], line["quantity"]) == ("1", "SHEET", 2)
    assert line["target"] == {"order": "RF-1042-1", "refund_receipt": receipt["Id"]}
    assert line["reference"] == "refundflow rf_01J order 1042"
    assert shown(company.get(f"item/{item}"))["QtyOnHand"] == 9

    company.post("refundreceipt", {"Id": receipt["Id"], "SyncToken": "0"}, operation="delete")
    assert (company.book("destock")[0]["quantity"], stock(company)) == (2, 7)


def test_a_void_puts_the_goods_back_too_and_a_service_item_never_does(company: Company) -> None:
    company.void_sale(stocked(company))
    assert [(x["effect"], x.get("quantity")) for x in company.book()] == [
        ("void_invoice", None),
        ("restock", 3),
    ]
    assert stock(company) == 10


def test_the_shelf_is_left_alone_where_seeded(company: Company) -> None:
    company.seed(settings={"is_refund_restocking": False, "is_void_restocking": False})
    sale = stocked(company)
    item = sale["Line"][0]["SalesItemLineDetail"]["ItemRef"]["value"]
    company.post("creditmemo", credit_of(10, Line=[line_of(10, item)]))
    company.void_sale(sale)
    assert (company.effects, stock(company)) == (["credit_note", "void_invoice"], 7)


def test_half_a_unit_of_inventory_is_refused(company: Company) -> None:
    item = stocked(company)["Line"][0]["SalesItemLineDetail"]["ItemRef"]["value"]
    half = refund_of(Line=[line_of(5, item, Qty=0.5, UnitPrice=10)])
    assert error_of(company.post("refundreceipt", half)) == (400, "6000")


# ---------------------------------------------------------------- queries


def numbered(company: Company) -> None:
    company.seed(customers=[{"id": "70", "name": "Somebody else"}])
    company.sale(number="1001", date="2026-10-01")
    company.now += timedelta(minutes=20)
    company.sale(number="O'Brien", date="2026-10-15", customer="Somebody else")
    company.now += timedelta(minutes=20)
    company.sale(number="10%", date="2026-11-01", note="rf_01J")


@pytest.mark.parametrize(
    ("clause", "wanted"),
    [
        ("", ["1001", "O'Brien", "10%"]),
        ("where DocNumber = '1001'", ["1001"]),
        ("WHERE DocNumber='1001' AND TxnDate = '2026-10-01'", ["1001"]),
        (r"where DocNumber = 'O\'Brien'", ["O'Brien"]),
        ("where DocNumber in ('1001', '10%', 'x')", ["1001", "10%"]),
        ("where DocNumber like '10%'", ["1001", "10%"]),
        ("where DocNumber like '%B%'", ["O'Brien"]),
        ("where TxnDate >= '2026-10-15' and TxnDate < '2026-11-01'", ["O'Brien"]),
        ("where CustomerRef = '61'", ["1001", "10%"]),
        ("where MetaData.LastUpdatedTime > '2026-11-23T12:10:00Z'", ["O'Brien", "10%"]),
        ("where MetaData.LastUpdatedTime > '2026-11-23T13:10:00+01:00'", ["O'Brien", "10%"]),
        ("where MetaData.LastUpdatedTime > '2026-11-23T12:10:00'", ["O'Brien", "10%"]),
        ("orderby TxnDate desc", ["10%", "O'Brien", "1001"]),
        ("order by CustomerRef asc, TxnDate desc", ["10%", "1001", "O'Brien"]),
        ("orderby TxnDate startposition 2 maxresults 1", ["O'Brien"]),
        ("startposition 4", []),
        ("where Id = '0'", []),
        ("where DocNumber = 'o\\'brien'", []),
    ],
)
def test_a_query_finds_what_its_clause_says(company: Company, clause: str, wanted: list[str]) -> None:
    numbered(company)
    answer = company.query(f"select * from SalesReceipt {clause}")
    assert found_by(answer, "SalesReceipt") == wanted
    assert ("SalesReceipt" in shown(answer)) is bool(wanted)


@pytest.mark.parametrize(
    ("_case", "query", "code"),
    [
        ("the note", "select * from RefundReceipt where PrivateNote = 'rf_01J'", "4001"),
        ("the total", "select * from Invoice where TotalAmt = '1'", "4001"),
        ("a payment reference", "select * from RefundReceipt where PaymentRefNum = 're_1'", "4001"),
        ("order by the total", "select * from Invoice orderby TotalAmt", "4001"),
        ("no such entity", "select * from SalesOrder", "4001"),
        ("entity in lower case", "select * from invoice", "4001"),
        ("a strange date", "select * from Invoice where TxnDate > 'yesterday'", "4001"),
        (
            "a plus that was not escaped",
            "select * from Invoice where MetaData.LastUpdatedTime > '2026-11-23T13:30:00 01:00'",
            "4001",
        ),
        ("too many", "select * from Invoice maxresults 1001", "4001"),
        ("from nothing", "select * from Invoice startposition 0", "4001"),
        ("a doubled quote", "select * from Invoice where DocNumber = 'O''Brien'", "4000"),
        ("a quote not escaped", "select * from Invoice where DocNumber = 'O'Brien'", "4000"),
        ("a quote not closed", "select * from Invoice where DocNumber = 'O", "4000"),
        ("OR", "select * from Invoice where DocNumber = '1' or DocNumber = '2'", "4000"),
        ("not equal", "select * from Invoice where DocNumber != '1'", "4000"),
        ("a bare number", "select * from Invoice where Id = 1", "4000"),
        ("a semicolon", "select * from Invoice;", "4000"),
        ("no select", "delete from Invoice", "4000"),
        ("nothing", "", "2020"),
    ],
)
def test_a_query_that_the_vendor_cannot_answer_is_refused(
    company: Company, _case: str, query: str, code: str
) -> None:
    company.sale("invoices")
    assert error_of(company.query(query)) == (400, code)


def test_a_query_takes_100_rows_unless_told_and_says_where_it_stands(company: Company) -> None:
    company.seed(
        invoices=[
            {"number": str(n), "lines": [{"sku": "A", "unit_price_minor": 1}]} for n in range(1001, 1106)
        ]
    )
    first = shown(company.query("select * from Invoice orderby DocNumber"))
    assert (len(first["Invoice"]), first["startPosition"], first["maxResults"]) == (100, 1, 100)
    second = shown(company.query("select * from Invoice orderby DocNumber startposition 101"))
    assert [each["DocNumber"] for each in second["Invoice"]] == ["1101", "1102", "1103", "1104", "1105"]
    assert (second["startPosition"], second["maxResults"]) == (101, 5)
    counted = shown(company.query("select count(*) from Invoice where DocNumber > '1100'"))
    assert counted == {"totalCount": 5}


def test_a_query_may_name_its_columns(company: Company) -> None:
    sale = company.sale()
    row = shown(company.query("select DocNumber, TotalAmt from SalesReceipt"))["SalesReceipt"][0]
    wanted = {"domain": "QBO", "sparse": False, "Id": sale["Id"], "DocNumber": "1042", "TotalAmt": 25.5}
    assert row == wanted


def test_further_fields_are_filterable_where_seeded(company: Company) -> None:
    company.seed(settings={"filterable": {"Invoice": ["Balance"]}})
    company.sale("invoices", number="1")
    company.sale("invoices", number="2", payments=[{"amount_minor": 2550}])
    assert found_by(company.query("select * from Invoice where Balance > '0'"), "Invoice") == ["1"]
    assert error_of(company.query("select * from Invoice where Balance > 'x'")) == (400, "4001")


def test_name_lists_are_queried_and_hide_the_inactive(company: Company) -> None:
    company.seed(
        customers=[
            {"id": "70", "name": "Gone", "is_active": False},
            {"id": "71", "name": "O'Brien", "email": "o@example.com"},
        ]
    )
    names = [each["DisplayName"] for each in shown(company.query("select * from Customer"))["Customer"]]
    assert names == ["Practice Customer", "O'Brien"]
    gone = shown(company.query("select * from Customer where Active = false"))["Customer"]
    assert [each["Id"] for each in gone] == ["70"]
    assert shown(company.get("customer/71"))["PrimaryEmailAddr"] == {"Address": "o@example.com"}
    assert shown(company.get("account/35"))["AccountType"] == "Other Current Asset"
    assert error_of(company.get("item/999")) == (400, "610")
    assert "CompanyInfo" in shown(company.query("select * from CompanyInfo"))
    assert "Preferences" in shown(company.query("select * from Preferences"))


def test_the_reader_of_queries_gives_back_backslashes_and_quotes() -> None:
    query = read_query(r"select * from Invoice where DocNumber = 'a\\b\'c'")
    assert query.conditions[0].values == ("a\\b'c",)


def test_company_and_preferences_are_read_at_set_up(company: Company) -> None:
    company.seed(company={"name": "Acrylic Ltd"}, settings={"home_currency": "EUR"})
    assert shown(company.get(f"companyinfo/{REALM_ID}"))["CompanyName"] == "Acrylic Ltd"
    assert error_of(company.get("companyinfo/1")) == (400, "610")
    preferences = shown(company.get("preferences"))
    assert preferences["CurrencyPrefs"] == {"MultiCurrencyEnabled": False, "HomeCurrency": {"value": "EUR"}}
    assert preferences["SalesFormsPrefs"]["CustomTxnNumbers"] is True


# ---------------------------------------------------------------- changes since


def test_changes_since_a_moment_list_new_changed_and_deleted_documents(company: Company) -> None:
    company.sale("invoices", number="1")
    company.now += timedelta(minutes=20)
    since = company.now.isoformat()
    receipt = shown(company.post("refundreceipt", refund_of()))
    company.post("refundreceipt", {"Id": receipt["Id"], "SyncToken": "0"}, operation="delete")
    memo = shown(company.post("creditmemo", credit_of(1)))
    answer = company.get("cdc", entities="RefundReceipt,CreditMemo,SalesReceipt", changedSince=since)

    refunds, memos, sales = answer.body["CDCResponse"][0]["QueryResponse"]
    assert [(x["Id"], x["status"]) for x in refunds["RefundReceipt"]] == [(receipt["Id"], "Deleted")]
    assert [x["Id"] for x in memos["CreditMemo"]] == [memo["Id"]]
    assert sales == {}


@pytest.mark.parametrize(
    ("_case", "query", "code"),
    [
        ("no entities", {"changedSince": "2026-11-23T00:00:00Z"}, "2020"),
        ("no moment", {"entities": "Invoice"}, "2020"),
        ("too long ago", {"entities": "Invoice", "changedSince": "2026-10-24T11:59:59Z"}, "2010"),
        ("no moment at all", {"entities": "Invoice", "changedSince": "then"}, "2010"),
        ("a strange entity", {"entities": "Order", "changedSince": "2026-11-23T00:00:00Z"}, "2010"),
    ],
)
def test_a_wrong_question_for_changes_is_refused(
    company: Company, _case: str, query: dict[str, str], code: str
) -> None:
    assert error_of(company.get("cdc", **query)) == (400, code)


# ---------------------------------------------------------------- faults on demand


def test_a_lost_reply_is_found_by_number_and_replayed_by_request_id(company: Company) -> None:
    company.fault(Kind.LOST_REPLY, "create_refund_receipt")
    assert company.call("POST", "refundreceipt", refund_of(), requestid="k") == Cut(How.RESET)

    text = "select * from RefundReceipt where DocNumber = 'RF-1042-1'"
    [found] = shown(company.query(text))["RefundReceipt"]
    assert shown(company.post("refundreceipt", refund_of(), requestid="k")) == found
    assert company.effects == ["record_refund"]


def test_a_lost_request_books_nothing(company: Company) -> None:
    company.fault(Kind.LOST_REQUEST, "create_refund_receipt")
    assert company.call("POST", "refundreceipt", refund_of(), requestid="k") == Cut(How.RESET)
    assert company.book() == []
    assert company.post("refundreceipt", refund_of(), requestid="k").status == 200


@pytest.mark.parametrize(
    ("status", "code"), [(429, "3001"), (500, "10000"), (503, "10000"), (401, "3200"), (403, "120")]
)
def test_a_status_fault_has_the_vendors_body_and_no_effect(company: Company, status: int, code: str) -> None:
    company.fault(Kind.STATUS, "create_refund_receipt", status=status)
    assert error_of(company.post("refundreceipt", refund_of(), requestid="k")) == (status, code)
    assert company.book() == []
    assert company.post("refundreceipt", refund_of(), requestid="k").status == 200


def test_a_500_after_the_effect_is_set_right_by_the_same_request_id(company: Company) -> None:
    company.fault(Kind.STATUS, "create_refund_receipt", status=500, is_after_effect=True, times=2)
    for _ in range(2):
        assert company.post("refundreceipt", refund_of(), requestid="k").status == 500
    assert shown(company.post("refundreceipt", refund_of(), requestid="k"))["TotalAmt"] == 25.5
    assert company.effects == ["record_refund"]


@pytest.mark.parametrize(
    ("operation", "code", "wanted"),
    [
        ("create_refund_receipt", "", (400, "6000")),
        ("create_refund_receipt", "6210", (400, "6210")),
        ("create_refund_receipt", "6190", (403, "6190")),
        ("create_refund_receipt", "5020", (403, "5020")),
        ("create_refund_receipt", "9999", (400, "9999")),
        ("void_sales_receipt", "", (400, "6540")),
        ("void_invoice", "", (400, "6000")),
        ("get_sales_receipt", "", (400, "610")),
        ("query", "", (400, "4001")),
    ],
)
def test_a_refusal_on_demand_names_the_vendors_error_and_does_nothing(
    company: Company, operation: str, code: str, wanted: tuple[int, str]
) -> None:
    sale, invoice = company.sale(), company.sale("invoices")
    company.fault(Kind.REFUSE, operation, code=code)
    calls = {
        "create_refund_receipt": lambda: company.post("refundreceipt", refund_of()),
        "void_sales_receipt": lambda: company.void_sale(sale),
        "void_invoice": lambda: company.void_invoice(invoice),
        "get_sales_receipt": lambda: company.get(f"salesreceipt/{sale['Id']}"),
        "query": lambda: company.query("select * from Invoice"),
    }
    assert error_of(calls[operation]()) == wanted
    assert company.book() == []
    assert company.world.faults.waiting() == []


def test_refused_credentials_on_demand_look_like_an_expired_token(company: Company) -> None:
    company.fault(Kind.REFUSE_AUTH, "create_refund_receipt")
    assert error_of(company.post("refundreceipt", refund_of(), requestid="k")) == (401, "3200")
    assert company.post("refundreceipt", refund_of(), requestid="k").status == 200
    assert company.effects == ["record_refund"]


def test_faults_at_the_token_endpoint_speak_its_own_language(company: Company) -> None:
    company.fault(Kind.REFUSE, "token")
    company.fault(Kind.REFUSE_AUTH, "token")
    company.fault(Kind.STATUS, "token", status=503)
    answers = [company.refresh(REFRESH_TOKEN) for _ in range(4)]
    assert [(each.status, each.body.get("error")) for each in answers] == [
        (400, "invalid_grant"),
        (401, "invalid_client"),
        (503, "server_error"),
        (200, None),
    ]


def test_an_html_page_comes_as_it_is(company: Company) -> None:
    company.fault(Kind.HTML, "create_refund_receipt", status=502)
    answer = company.post("refundreceipt", refund_of())
    assert (answer.status, answer.content_type, company.book()) == (502, "text/html", [])


def test_faults_may_arrive_with_status_200_where_seeded(company: Company) -> None:
    company.seed(settings={"business_fault_status": 200})
    assert error_of(company.post("refundreceipt", without("Line"))) == (200, "2020")
    assert company.book() == []


# ---------------------------------------------------------------- webhooks


def subscribe(company: Company, *topics: str) -> None:
    company.world.webhooks.subscribe(NAME, Subscription("http://practice/hook", "verifier", topics=topics))


def told(company: Company) -> list[tuple[str, str]]:
    company.world.webhooks.wait_idle()
    events = [event for _, body in company.deliveries for event in json.loads(body)]
    return [(event["type"], event["intuitentityid"]) for event in events]


def test_effects_are_told_as_cloud_events_that_carry_ids_only(company: Company) -> None:
    subscribe(company)
    invoice = company.sale("invoices")
    sale = company.sale(number="1043")
    receipt = shown(company.post("refundreceipt", refund_of(), requestid="k"))
    company.post("refundreceipt", refund_of(), requestid="k")
    memo = shown(company.post("creditmemo", credit_of(1)))
    company.void_sale(sale)
    company.post("refundreceipt", {"Id": receipt["Id"], "SyncToken": "0"}, operation="delete")

    assert told(company) == [
        ("qbo.refundreceipt.created.v1", receipt["Id"]),
        ("qbo.creditmemo.created.v1", memo["Id"]),
        ("qbo.invoice.updated.v1", invoice["Id"]),
        ("qbo.salesreceipt.voided.v1", sale["Id"]),
        ("qbo.refundreceipt.deleted.v1", receipt["Id"]),
    ]
    [event] = json.loads(company.deliveries[0][1])
    assert (event["intuitaccountid"], event["specversion"], event["data"]) == (REALM_ID, "1.0", {})
    path = specs(NAME) / "quickbooks-online.openapi.json"
    check_document(path, json.loads(company.deliveries[0][1]), "/components/schemas/WebhookBatch")


def test_a_payment_by_the_customer_is_told_about_payment_and_invoice(company: Company) -> None:
    subscribe(company)
    invoice = company.sale("invoices")
    settled = company.settle(invoice=invoice["Id"], paid_minor=1000, transaction="pi_1")
    assert (settled["invoice"]["Balance"], settled["payment"]["TotalAmt"]) == (15.5, 10.0)
    assert told(company) == [
        ("qbo.payment.created.v1", settled["payment"]["Id"]),
        ("qbo.invoice.updated.v1", invoice["Id"]),
    ]
    assert company.book() == []


def test_the_old_form_of_a_webhook_is_sent_where_seeded(company: Company) -> None:
    company.seed(settings={"webhook_form": "legacy"})
    sale = company.sale()
    event = company.world.vendor(NAME).event_for("qbo.salesreceipt.voided.v1", sale["Id"])
    [notice] = event.body["eventNotifications"]
    [entity] = notice["dataChangeEvent"]["entities"]
    assert (notice["realmId"], entity["name"], entity["operation"], entity["id"]) == (
        *(REALM_ID, "SalesReceipt", "Void"),
        sale["Id"],
    )
    path = specs(NAME) / "quickbooks-online.openapi.json"
    check_document(path, event.body, "/components/schemas/LegacyWebhook")


def test_the_same_event_is_given_twice_and_none_about_strangers(company: Company) -> None:
    vendor = company.world.vendor(NAME)
    receipt = shown(company.post("refundreceipt", refund_of()))
    topic = "qbo.refundreceipt.created.v1"
    assert vendor.event_for(topic, receipt["Id"]) == vendor.event_for(topic, receipt["Id"])
    for strange in ("qbo.invoice.created.v1", "qbo.refundreceipt.paid.v1", "nonsense"):
        with pytest.raises(NoSuchObjectError):
            vendor.event_for(strange, receipt["Id"])
    with pytest.raises(NoSuchObjectError):
        vendor.event_for(topic, "1")


def test_the_signature_is_that_of_the_published_vectors(company: Company) -> None:
    vectors = load(specs(NAME) / "webhook_signature_vectors.json")["vectors"]
    vendor = company.world.vendor(NAME)
    assert len(vectors) == 3
    for vector in vectors:
        body = vector["raw_body"].encode()
        signed = vendor.sign(Event("1", "x", body), "http://practice", vector["verifier_token"])
        assert signed.headers["intuit-signature"] == vector["intuit-signature"]
        assert signed.body == body


# ---------------------------------------------------------------- the published description, and the controls


@pytest.mark.parametrize("kind", ["RefundReceipt", "CreditMemo", "SalesReceipt", "Invoice", "Payment"])
def test_answers_are_what_the_published_description_says(company: Company, kind: str) -> None:
    path = specs(NAME) / "quickbooks-online.openapi.json"
    company.sale(is_deposited=True, tax_minor=100, email="buyer@example.com")
    company.sale("invoices", payments=[{"amount_minor": 1000, "transaction": "pi_1"}], shipping_minor=500)
    company.post("refundreceipt", refund_of())
    company.post("creditmemo", credit_of(10))
    listed = company.query(f"select * from {kind}")
    [document] = shown(listed)[kind]

    for template, answer in (
        (f"/v3/company/{{realmId}}/{kind.lower()}/{{id}}", company.get(f"{kind.lower()}/{document['Id']}")),
        ("/v3/company/{realmId}/query", listed),
        (f"/v3/company/{{realmId}}/{kind.lower()}/{{id}}", company.get(f"{kind.lower()}/1")),
    ):
        check_response(path, "get", template, answer.status, answer.body, declared_only=True)


def test_seeded_sales_have_their_totals_and_are_not_in_the_book(company: Company) -> None:
    made = company.seed(
        customers=[{"id": "70", "name": "Buyer", "email": "buyer@example.com"}],
        sales_receipts=[
            {
                "id": "47",
                "number": 1042,
                "email": "buyer@example.com",
                "created": "2026-11-01T09:00:00+00:00",
                "lines": [{"sku": "SHEET", "title": "Sheet", "quantity": 2, "unit_price_minor": 1050}],
                "shipping_minor": 450,
                "tax_minor": 173,
                "payments": [{"amount_minor": 2723, "transaction": "pi_3AbcDefGhiJklMnoPqrStu"}],
            }
        ],
    )
    [sale] = made["sales_receipts"]
    assert (sale["Id"], sale["DocNumber"], sale["TotalAmt"], sale["TxnDate"]) == (
        *("47", "1042", 27.23),
        "2026-11-01",
    )
    assert (sale["CustomerRef"]["value"], len(sale["PaymentRefNum"])) == ("70", 21)
    items = [line["SalesItemLineDetail"]["ItemRef"]["value"] for line in sale["Line"][:2]]
    assert items[1] == "SHIPPING_ITEM_ID"
    assert company.book() == []


@pytest.mark.parametrize(
    ("_case", "described", "message"),
    [
        ("a strange setting", {"settings": {"colour": "red"}}, "colour"),
        ("a sale without lines", {"invoices": [{"number": "1"}]}, "lines"),
        ("an id twice", {"invoices": [{"id": "1", "lines": []}, {"id": "1", "lines": []}]}, "already"),
    ],
)
def test_a_seed_that_cannot_be_read_says_why(
    company: Company, _case: str, described: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        company.seed(**described)


def test_the_controls_move_the_stock_and_refuse_strangers(company: Company) -> None:
    assert company.settle(item="RETURNS", stock=4)["QtyOnHand"] == 4
    assert company.settle(access_tokens="expired") == {"access_tokens": 1}
    with pytest.raises(NoSuchObjectError):
        company.settle(item="strange")
    with pytest.raises(NoSuchObjectError):
        company.settle(invoice="1", paid_minor=1)
    with pytest.raises(ValueError, match="settle what"):
        company.settle(moon="full")


def test_a_reset_forgets_documents_tokens_and_the_book(company: Company) -> None:
    receipt = shown(company.post("refundreceipt", refund_of()))
    company.world.reset()
    assert company.book() == []
    assert error_of(company.get("preferences")) == (401, "3200")
    company.seed(connection={"access_token": "practice-access"})
    assert error_of(company.get(f"refundreceipt/{receipt['Id']}")) == (400, "610")


def test_a_query_string_encoded_as_a_browser_does_is_understood(company: Company) -> None:
    company.sale(number="O'Brien")
    text = quote(r"select * from SalesReceipt where DocNumber = 'O\'Brien'")
    path = f"/v3/company/{REALM_ID}/query"
    answer = company.world.receive(NAME, Call("GET", path, f"query={text}&minorversion=75", company.headers))
    assert isinstance(answer, Answer)
    assert found_by(answer, "SalesReceipt") == ["O'Brien"]
