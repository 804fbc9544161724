"""The practice SAP Business One: who may call, what it refuses, and what its book and its stock say afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

import pytest

from refundflow.sandbox.base import Answer, Call, Cut, Fault, Kind, NoSuchObjectError, Record, World
from refundflow.sandbox.sap_business_one import COMPANY, PASSWORD, USER, SapBusinessOne
from tests.support.specs import check_document, check_response, specs

NAME = "sap-business-one"
LOGIN = {"CompanyDB": COMPANY, "UserName": USER, "Password": PASSWORD}
LINES = [
    {"sku": "A", "title": "Lamp", "quantity": 2, "unit_minor": 1000, "tax_code": "A1", "stock": 10},
    {"sku": "B", "title": "Bulb", "quantity": 3, "unit_minor": 250, "stock": 5},
]
MEMO = {"CardCode": "C20000", "DocDate": "2026-11-23", "NumAtCard": "1042", "U_RefundflowId": "rf_1"}
QUIET = {"Prefer": "return-no-content"}


def only(**row: Any) -> list[Record]:
    return [row]


class Company:
    """A practice company with one open order over 2 lamps and 3 bulbs, 31.30 EUR, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.world = World([SapBusinessOne], clock=lambda: self.now)
        vendor = self.world.vendor(NAME)
        assert isinstance(vendor, SapBusinessOne)
        self.sap = vendor
        self.cookie = ""
        self.order = self.seed()
        self.login()

    def seed(self, *, settings: Mapping[str, Any] | None = None, **order: Any) -> Record:
        described = {"number": "1042", "lines": LINES, **order}
        made = self.world.seed({NAME: {"settings": dict(settings or {}), "orders": [described]}})
        return dict(made[NAME]["orders"][0])

    def set(self, **settings: Any) -> None:
        self.world.seed({NAME: {"settings": settings}})

    def settle(self, **data: Any) -> Record:
        return self.world.settle(NAME, data)[0]

    def fault(self, kind: Kind, operation: str = "*", **more: Any) -> None:
        self.world.faults.add(Fault(kind, NAME, operation, **more))

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer | Cut:
        path, _, query = path.partition("?")
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"cookie": self.cookie, "content-type": "application/json"}
        sent |= {name.lower().replace("_", "-"): value for name, value in headers.items()}
        return self.world.receive(NAME, Call(method, f"/b1s/v2/{path}", query, sent, raw))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        answer = self.send(method, path, body, **headers)
        assert isinstance(answer, Answer)
        json.dumps(answer.body)
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def login(self, **more: str) -> None:
        headers = self.post("Login", {**LOGIN, **more}).headers
        self.cookie = "; ".join(value.split(";")[0] for name, value in headers.items() if "ookie" in name)

    def found(self, kind: str, query: str, **headers: str) -> list[int]:
        answer = self.get(f"{kind}?$filter={quote(query)}", **headers)
        assert answer.status == 200, answer.body
        return [each["DocEntry"] for each in answer.body["value"]]

    def stock(self, sku: str) -> tuple[int, int]:
        """On hand and committed, as the items themselves say."""
        body = self.get(f"Items('{sku}')").body
        return int(body["QuantityOnStock"]), int(body["QuantityOrderedByCustomers"])

    def book(self) -> list[tuple[Any, ...]]:
        """Effect with amount, or with sku and units."""
        lines = self.sap.book.lines()
        return [(x["effect"], x.get("sku"), x.get("quantity", x["amount_minor"])) for x in lines]

    def paid(self, **order: Any) -> Record:
        """An order that was delivered, invoiced and paid."""
        shipped = [{**each, "shipped": each["quantity"]} for each in LINES]
        described = {
            "number": "1050",
            "lines": shipped,
            "is_invoiced": True,
            "payments": [{"reference": "pi_1"}],
        }
        return self.seed(**{**described, **order})

    def unpaid(self) -> Record:
        return self.paid(payments=[])


@pytest.fixture
def company() -> Iterator[Company]:
    company = Company()
    yield company
    company.world.close()


def code_of(answer: Answer) -> tuple[int, str]:
    assert set(answer.body["error"]) == {"code", "message", "details"}
    return answer.status, answer.body["error"]["code"]


REFUSED = (400, "-5002")
INVALID = (400, "-1000")


# ---------------------------------------------------------------- sessions


def test_a_login_gives_a_session_and_two_cookies(company: Company) -> None:
    answer = company.post("Login", LOGIN)

    assert (answer.status, answer.body["SessionTimeout"]) == (200, 30)
    cookies = [value for name, value in answer.headers.items() if name.lower() == "set-cookie"]
    assert cookies == [f"B1SESSION={answer.body['SessionId']};HttpOnly;", "ROUTEID=.node2; path=/b1s"]


@pytest.mark.parametrize(
    ("_case", "change"),
    [
        ("another company", {"CompanyDB": "SBODEMOUS"}),
        ("another user", {"UserName": "manager"}),
        ("a wrong password", {"Password": "x"}),
        ("no password", {"Password": None}),
    ],
)
def test_a_wrong_login_is_a_401_of_its_own(company: Company, _case: str, change: Record) -> None:
    assert code_of(company.post("Login", {**LOGIN, **change})) == (401, "-304")


def test_a_session_ends_after_thirty_minutes_without_a_call(company: Company) -> None:
    company.now += timedelta(minutes=29)
    assert company.get("Orders").status == 200
    company.now += timedelta(minutes=29)
    assert company.get("Orders").status == 200
    company.now += timedelta(minutes=30)
    assert code_of(company.get("Orders")) == (401, "301")
    assert code_of(company.get("Orders")) == (401, "301")

    company.login()
    assert company.get("Orders").status == 200


@pytest.mark.parametrize("kept", ["B1SESSION", "ROUTEID"])
def test_one_cookie_alone_is_no_session(company: Company, kept: str) -> None:
    both = company.cookie.split("; ")
    company.cookie = next(each for each in both if each.startswith(kept))
    refused = company.post("Orders(1)/Cancel")

    assert code_of(refused) == (401, "301")
    assert company.book() == []


def test_without_nodes_the_session_cookie_is_enough(company: Company) -> None:
    company.set(needs_route=False)
    company.cookie = company.cookie.split("; ")[0]
    assert company.get("Orders").status == 200


def test_a_logout_ends_the_session_and_frees_its_place(company: Company) -> None:
    company.set(session_limit=1)
    full = company.post("Login", LOGIN)
    assert (full.status, full.content_type) == (503, "text/html")

    assert company.post("Logout").status == 204
    assert code_of(company.get("Orders")) == (401, "301")
    assert company.post("Login", LOGIN).status == 200


def test_sessions_can_be_expired_from_outside(company: Company) -> None:
    assert company.settle(sessions="expired") == {"expired": 1}
    assert code_of(company.get("Orders(1)")) == (401, "301")


# ---------------------------------------------------------------- looking up


def test_an_order_shows_numbers_in_major_units_and_enums_as_words(company: Company) -> None:
    shown = company.get(f"Orders({company.order['id']})").body

    assert (shown["DocEntry"], shown["DocNum"], shown["NumAtCard"]) == (1, 5001, "1042")
    assert (shown["DocTotal"], shown["VatSum"], shown["DocCurrency"]) == (31.3, 3.8, "EUR")
    assert (shown["DocumentStatus"], shown["Cancelled"], shown["CancelStatus"]) == (
        "bost_Open",
        "tNO",
        "csNo",
    )
    lines = [
        (x["LineNum"], x["ItemCode"], x["Price"], x["RemainingOpenQuantity"]) for x in shown["DocumentLines"]
    ]
    assert lines == [(0, "A", 10.0, 2.0), (1, "B", 2.5, 3.0)]
    assert [each["BaseType"] for each in shown["DocumentLines"]] == [-1, -1]
    assert company.order["total_minor"] == 3130


@pytest.mark.parametrize(
    ("_case", "query", "wanted"),
    [
        ("equal", "NumAtCard eq '1042'", [1]),
        ("a quote is doubled", "NumAtCard eq 'O''Hara'", [2]),
        ("both", "NumAtCard eq '1042' and Cancelled eq 'tNO'", [1]),
        ("none of both", "NumAtCard eq '1042' and Cancelled eq 'tYES'", []),
        ("one of both, in brackets", "(DocEntry eq 1 or DocEntry eq 3) and DocTotal gt 30", [1]),
        ("and binds tighter than or", "DocEntry eq 2 or DocEntry eq 1 and DocTotal gt 99", [2]),
        ("not", "not (DocEntry eq 1)", [2, 3]),
        ("a date and later", "UpdateDate ge '2026-11-23'", [1]),
        ("a date without quotes", "UpdateDate ge 2026-11-23", [1]),
        ("the time is not looked at", "UpdateDate ge 2026-11-23T23:59:59Z", [1]),
        ("a part of a text", "contains(NumAtCard,'Hara')", [2]),
        ("a number", "DocTotal eq 31.30", [1]),
        ("null", "Comments eq null", [1, 2, 3]),
        ("not null", "Comments ne null", []),
        ("our own field", "U_RefundflowId eq 'rf_9'", [3]),
    ],
)
def test_filters_that_are_understood(company: Company, _case: str, query: str, wanted: list[int]) -> None:
    old: Record = {"created": "2026-11-20T08:00:00+00:00", "lines": [{"sku": "C", "unit_minor": 100}]}
    company.seed(number="O'Hara", **old)
    company.seed(number="7", U_RefundflowId="rf_9", **old)

    assert company.found("Orders", query) == wanted


@pytest.mark.parametrize(
    ("_case", "query"),
    [
        ("a field that nobody set up", "U_ShopOrder eq '1'"),
        ("a column instead of a property", "DocStatus eq 'O'"),
        ("a property of lines", "DocumentLines eq 'x'"),
        ("a quote that is not doubled", "NumAtCard eq 'O'Hara'"),
        ("a number for a text", "NumAtCard eq 1042"),
        ("a text for a number", "DocEntry eq '1'"),
        ("a word for a date", "UpdateDate ge 'today'"),
        ("a function of version 3", "substringof('1',NumAtCard)"),
        ("nothing to compare with", "NumAtCard eq"),
        ("a bracket left open", "(DocEntry eq 1"),
        ("an unknown sign", "NumAtCard = '1042'"),
        ("nothing after and", "DocEntry eq 1 and"),
    ],
)
def test_filters_that_are_refused(company: Company, _case: str, query: str) -> None:
    assert code_of(company.get(f"Orders?$filter={quote(query)}")) == (400, "201")


def test_an_option_without_its_dollar_is_ignored_and_shows_everything(company: Company) -> None:
    answer = company.get("Orders?filter=" + quote("NumAtCard eq 'none'"))
    assert [each["DocEntry"] for each in answer.body["value"]] == [1]


def test_select_shows_only_what_was_asked_for_and_knows_its_names(company: Company) -> None:
    answer = company.get("Orders?$select=DocEntry,NumAtCard,DocumentStatus")
    assert answer.body["value"] == [{"DocEntry": 1, "NumAtCard": "1042", "DocumentStatus": "bost_Open"}]
    assert code_of(company.get("Orders?$select=DocEntry,DocStatus")) == INVALID
    assert code_of(company.get("Returns?$select=DocStatus")) == INVALID  # a list without rows knows them too
    assert code_of(company.get("Orders(1)?$select=U_ShopOrder")) == INVALID
    assert code_of(company.get("Orders?$expand=BusinessPartner")) == (400, "201")
    assert code_of(company.get("Orders?$inlinecount=allpages")) == (400, "201")


def test_lists_come_in_pages_of_twenty_with_a_relative_link(company: Company) -> None:
    for number in range(44):
        company.seed(number=f"n {number}", lines=[{"sku": "C", "unit_minor": 100}])
    path, pages = "Orders?$filter=" + quote("DocEntry ge 1") + "&$select=DocEntry&$count=true", []
    while path:
        body = company.get(path).body
        assert body["@odata.count"] == 45
        pages.append([each["DocEntry"] for each in body["value"]])
        path = body.get("@odata.nextLink", "")
        assert path == "" or path.startswith("Orders?$filter=DocEntry%20ge%201&")

    assert [len(page) for page in pages] == [20, 20, 5]
    assert [entry for page in pages for entry in page] == list(range(1, 46))


def test_the_caller_may_prefer_larger_pages_or_none(company: Company) -> None:
    for _ in range(29):
        company.seed(lines=[{"sku": "C", "unit_minor": 100}])

    assert len(company.found("Orders", "DocEntry ge 1", prefer="odata.maxpagesize=25")) == 25
    assert len(company.found("Orders", "DocEntry ge 1", prefer="odata.maxpagesize=0")) == 30
    some = company.get("Orders?$top=25&$skip=2&$orderby=DocEntry%20desc&$select=DocEntry").body
    assert [each["DocEntry"] for each in some["value"]] == list(range(28, 8, -1))
    rest = company.get(some["@odata.nextLink"]).body
    assert [each["DocEntry"] for each in rest["value"]] == list(range(8, 3, -1))
    assert "@odata.nextLink" not in rest
    assert (
        unquote(some["@odata.nextLink"]) == "Orders?$top=5&$skip=22&$orderby=DocEntry desc&$select=DocEntry"
    )
    assert code_of(company.get("Orders?$top=many")) == (400, "201")


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("GET", "Orders(99)", (404, "-2028")),
        ("POST", "Orders(99)/Cancel", (404, "-2028")),
        ("GET", "Orders('1')", (400, "-1000")),
        ("GET", "Items('gone')", (404, "-2028")),
        ("GET", "Quotations", (404, "-1000")),
        ("POST", "Invoices", (404, "-1000")),
        ("DELETE", "Orders(1)", (404, "-1000")),
    ],
)
def test_what_is_not_there_is_said_in_the_vendors_words(
    company: Company, method: str, path: str, wanted: tuple[int, str]
) -> None:
    assert code_of(company.ask(method, path, {})) == wanted


def test_a_partner_has_the_email_of_the_order(company: Company) -> None:
    made = company.seed(email="ada@example.com")
    assert made["customer"] != "C20000"
    assert company.get(f"BusinessPartners('{made['customer']}')").body["EmailAddress"] == "ada@example.com"
    assert company.seed(email="ada@example.com")["customer"] == made["customer"]


# ---------------------------------------------------------------- orders


def test_cancelling_frees_what_was_committed_and_is_refused_the_second_time(company: Company) -> None:
    assert (company.stock("A"), company.stock("B")) == ((10, 2), (5, 3))
    company.now += timedelta(days=2)
    company.login()
    done = company.post("Orders(1)/Cancel")
    again = company.post("Orders(1)/Cancel", {})

    assert (done.status, done.payload, code_of(again)) == (204, b"", REFUSED)
    lines = company.sap.book.lines()
    target = {"order": "1", "number": "1042", "doc_num": "5001"}
    assert [(x["effect"], x["id"], x["target"], x["reference"]) for x in lines] == [
        ("cancel_order", "1", target, None),
        ("restock", "Orders(1)/0", target, None),
        ("restock", "Orders(1)/1", target, None),
    ]
    assert [(x["sku"], x["quantity"]) for x in lines[1:]] == [("A", 2), ("B", 3)]
    assert (company.stock("A"), company.stock("B")) == ((10, 0), (5, 0))
    shown = company.get("Orders(1)").body
    assert (shown["Cancelled"], shown["CancelStatus"], shown["DocumentStatus"]) == (
        "tYES",
        "csYes",
        "bost_Close",
    )
    # The trap: only the status of a line says that nothing is left of it.
    assert [(x["LineStatus"], x["RemainingOpenQuantity"]) for x in shown["DocumentLines"]] == [
        ("bost_Close", 2.0),
        ("bost_Close", 3.0),
    ]
    assert company.found("Orders", "Cancelled eq 'tYES' and UpdateDate ge '2026-11-25'") == [1]


def test_an_order_from_which_rows_were_copied_can_be_closed_but_not_cancelled(company: Company) -> None:
    made = company.seed(lines=[{**LINES[0], "shipped": 1}, LINES[1]])
    path = f"Orders({made['id']})"

    assert code_of(company.post(f"{path}/Cancel")) == REFUSED
    assert company.book() == []
    assert company.post(f"{path}/Close").status == 204
    assert company.book() == [("close_order", None, None), ("restock", "A", 1), ("restock", "B", 3)]
    assert code_of(company.post(f"{path}/Close")) == REFUSED
    assert code_of(company.post(f"{path}/Cancel")) == REFUSED
    shown = company.get(path).body
    assert (shown["Cancelled"], shown["DocumentStatus"]) == ("tNO", "bost_Close")


@pytest.mark.parametrize("state", [{"is_cancelled": True}, {"is_closed": True}])
def test_orders_that_ended_before_are_left_alone(company: Company, state: Record) -> None:
    made = company.seed(**state)
    for action in ("Cancel", "Close"):
        assert code_of(company.post(f"Orders({made['id']})/{action}")) == REFUSED
    assert company.book() == []


def test_refusals_come_in_the_language_of_the_session(company: Company) -> None:
    company.post("Orders(1)/Cancel")
    english = company.post("Orders(1)/Cancel").body["error"]
    company.login(Language="9")
    german = company.post("Orders(1)/Cancel").body["error"]

    assert (english["code"], german["code"]) == ("-5002", "-5002")
    assert (english["message"], german["message"]) == (
        "The document is cancelled already",
        "Der Beleg ist bereits storniert",
    )


def test_an_action_takes_no_content_and_a_tag_that_still_holds(company: Company) -> None:
    tag = company.get("Orders(1)").headers["ETag"]
    assert company.ask("PATCH", "Orders(1)", {"Comments": "x"}).status == 204

    assert code_of(company.post("Orders(1)/Cancel", if_match=tag)) == (412, "-2039")
    assert code_of(company.ask("PATCH", "Orders(1)", {"Comments": "y"}, if_match=tag)) == (412, "-2039")
    assert code_of(company.post("Orders(1)/Cancel", {"Reason": "x"})) == INVALID
    assert [each[0] for each in company.book()] == ["note_order"]
    tag = company.get("Orders(1)").body["@odata.etag"]
    assert company.post("Orders(1)/Cancel", if_match=tag).status == 204


def test_a_note_changes_the_texts_alone(company: Company) -> None:
    body = {"Comments": "cancelled, rf_1", "U_RefundflowId": "rf_1"}
    assert company.ask("PATCH", "Orders(1)", body).status == 204

    assert company.found("Orders", "U_RefundflowId eq 'rf_1'") == [1]
    assert company.sap.book.lines()[0]["reference"] == "cancelled, rf_1"
    assert code_of(company.ask("PATCH", "Orders(1)", {"U_Other": "x"})) == INVALID
    assert code_of(company.ask("PATCH", "Orders(1)", {"Comments": "x" * 255})) == INVALID
    assert code_of(company.ask("PATCH", "Orders(1)", {"CardCode": "C1"})) == REFUSED
    assert company.book() == [("note_order", None, None)]


def test_a_patch_merges_lines_by_their_number_and_frees_the_rest(company: Company) -> None:
    rows = [{"LineNum": 0, "Quantity": 1}, {"LineNum": 1, "LineStatus": "bost_Close"}]
    assert company.ask("PATCH", "Orders(1)", {"DocumentLines": rows}).status == 204

    assert company.book() == [("change_order", None, None), ("restock", "A", 1), ("restock", "B", 3)]
    assert (company.stock("A"), company.stock("B")) == ((10, 1), (5, 0))
    assert company.post("Orders(1)/Cancel").status == 204
    assert company.book()[3:] == [("cancel_order", None, None), ("restock", "A", 1)]


def test_a_patch_that_replaces_collections_drops_the_lines_it_does_not_name(company: Company) -> None:
    body = {"DocumentLines": only(LineNum=0)}
    assert company.ask("PATCH", "Orders(1)", body, B1S_ReplaceCollectionsOnPatch="true").status == 204

    assert [each["LineNum"] for each in company.get("Orders(1)").body["DocumentLines"]] == [0]
    assert company.book() == [("change_order", None, None), ("restock", "B", 3)]


def test_a_delivered_line_cannot_be_patched_away(company: Company) -> None:
    company.settle(order=1, deliver={"0": 1})
    less, gone = only(LineNum=0, Quantity=0.5), only(LineNum=1)
    assert code_of(company.ask("PATCH", "Orders(1)", {"DocumentLines": less})) == REFUSED
    replacing = company.ask(
        "PATCH", "Orders(1)", {"DocumentLines": gone}, B1S_ReplaceCollectionsOnPatch="true"
    )
    assert code_of(replacing) == REFUSED
    assert code_of(company.ask("PATCH", "Orders(1)", {"DocumentLines": only(LineNum=7)})) == REFUSED
    assert company.book() == []


def test_orders_know_no_cancellation_document_and_posted_documents_no_cancel(company: Company) -> None:
    made = company.paid()
    for path in (
        f"Orders({made['id']})/CreateCancellationDocument",
        f"Invoices({made['invoices'][0]})/Cancel",
        f"DeliveryNotes({made['deliveries'][0]})/Cancel",
    ):
        assert code_of(company.post(path)) == REFUSED
    assert company.book() == []


# ---------------------------------------------------------------- returns and credit memos


def test_a_return_puts_delivered_goods_back_once(company: Company) -> None:
    company.settle(order=1, deliver=True)
    assert (company.stock("A"), company.stock("B")) == ((8, 0), (2, 0))
    rows = [{"BaseType": 15, "BaseEntry": 1, "BaseLine": 0, "Quantity": 1}]
    made = company.post("Returns", {**MEMO, "DocumentLines": rows})

    assert (made.status, made.body["DocEntry"], made.body["DocTotal"]) == (201, 1, 11.9)
    assert made.headers["Location"].endswith("/b1s/v2/Returns(1)")
    assert company.book() == [("create_return", None, 1190), ("restock", "A", 1)]
    line = company.sap.book.lines("restock")[0]
    assert (line["target"]["order"], line["reference"], line["warehouse"]) == ("1", "rf_1", "01")
    assert company.stock("A") == (9, 0)
    assert company.found("Returns", "U_RefundflowId eq 'rf_1' and Cancelled eq 'tNO'") == [1]

    rows[0]["Quantity"] = 2
    assert code_of(company.post("Returns", {**MEMO, "DocumentLines": rows})) == REFUSED
    del rows[0]["Quantity"]
    assert company.post("Returns", {**MEMO, "DocumentLines": rows}).body["DocTotal"] == 11.9
    assert code_of(company.post("Returns", {**MEMO, "DocumentLines": rows})) == REFUSED
    assert company.stock("A") == (10, 0)


def test_a_memo_on_an_open_invoice_restocks_and_leaves_nothing_to_pay_out(company: Company) -> None:
    made = company.unpaid()
    invoice = made["invoices"][0]
    rows = [
        {"BaseType": 13, "BaseEntry": invoice, "BaseLine": 0, "Quantity": 1},
        {"BaseType": 13, "BaseEntry": invoice, "BaseLine": 1, "WithoutInventoryMovement": "tYES"},
    ]
    memo = company.post("CreditNotes", {**MEMO, "DocumentLines": rows})

    assert (memo.status, memo.body["DocTotal"], memo.body["VatSum"]) == (201, 19.4, 1.9)
    assert company.book() == [("credit_note", None, 1940), ("restock", "A", 1)]
    line = company.sap.book.lines("credit_note")[0]
    wanted = {"order": str(made["id"]), "number": "1050", "doc_num": str(made["doc_num"])}
    assert line["target"] == {**wanted, "bases": [f"Invoices({invoice})"]}
    assert (line["id"], line["currency"], line["reference"]) == ("1", "EUR", "rf_1")
    assert company.stock("A")[0] == 11
    shown = company.get(f"Invoices({invoice})").body
    assert (shown["PaidToDate"], shown["DocumentStatus"]) == (19.4, "bost_Open")
    # The memo was taken off what the invoice is owed: paying it out too would be twice.
    assert memo.body["DocumentStatus"] == "bost_Close"
    assert code_of(company.post("VendorPayments", payment(1, 19.4))) == REFUSED
    assert company.sap.book.lines("record_refund") == []


def test_a_paid_invoice_is_no_base_although_its_lines_are_open(company: Company) -> None:
    made = company.paid()
    shown = company.get(f"Invoices({made['invoices'][0]})").body
    assert (shown["DocumentStatus"], shown["DocumentLines"][0]["LineStatus"]) == ("bost_Close", "bost_Open")
    rows = only(BaseType=13, BaseEntry=made["invoices"][0], BaseLine=0)

    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": rows})) == REFUSED
    assert company.book() == []
    company.set(can_credit_paid=True)
    memo = company.post("CreditNotes", {**MEMO, "DocumentLines": rows})
    assert (memo.status, memo.body["DocTotal"], memo.body["DocumentStatus"]) == (201, 23.8, "bost_Open")
    assert company.book() == [("credit_note", None, 2380), ("restock", "A", 2)]
    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": rows})) == REFUSED


def test_a_memo_without_a_base_says_everything_itself_and_is_not_bounded(company: Company) -> None:
    made = company.paid()
    row = {"ItemCode": "A", "Quantity": 2, "UnitPrice": 10.00, "TaxCode": "A1"}
    body = {**MEMO, "NumAtCard": "1050", "DocumentLines": [row]}
    answers = [company.post("CreditNotes", body) for _ in range(2)]

    assert [(each.status, each.body["DocTotal"]) for each in answers] == [(201, 23.8), (201, 23.8)]
    # No key, no bound: the same request again credits and restocks again. Only a look-up prevents it.
    assert company.book() == [("credit_note", None, 2380), ("restock", "A", 2)] * 2
    assert [x["target"]["order"] for x in company.sap.book.lines()] == [str(made["id"])] * 4
    assert company.found("CreditNotes", "U_RefundflowId eq 'rf_1'") == [1, 2]


def test_a_memo_on_a_return_does_not_restock_again(company: Company) -> None:
    company.settle(order=1, deliver=True)
    company.post("Returns", {**MEMO, "DocumentLines": only(BaseType=15, BaseEntry=1, BaseLine=0)})
    memo = company.post("CreditNotes", {**MEMO, "DocumentLines": only(BaseType=16, BaseEntry=1, BaseLine=0)})

    assert (memo.status, memo.body["DocTotal"]) == (201, 23.8)
    assert company.book() == [("create_return", None, 2380), ("restock", "A", 2), ("credit_note", None, 2380)]
    assert company.stock("A") == (10, 0)


@pytest.mark.parametrize(
    ("_case", "head", "row", "wanted"),
    [
        ("more than is open", {}, {"Quantity": 3}, REFUSED),
        ("no units", {}, {"Quantity": 0}, REFUSED),
        ("half a lamp", {}, {"Quantity": 0.5}, REFUSED),
        ("a quantity as text", {}, {"Quantity": "1"}, INVALID),
        ("no such line", {}, {"BaseLine": 9}, REFUSED),
        ("no such invoice", {}, {"BaseEntry": 99}, REFUSED),
        ("an order as base", {}, {"BaseType": 17, "BaseEntry": 1}, REFUSED),
        ("a delivery as base", {}, {"BaseType": 15}, REFUSED),
        ("an entry as text", {}, {"BaseEntry": "1"}, INVALID),
        ("an unknown property", {}, {"Qty": 1}, INVALID),
        ("no such tax code", {}, {"TaxCode": "X"}, REFUSED),
        ("no such warehouse", {}, {"WarehouseCode": "99"}, REFUSED),
        ("an enum that is none", {}, {"WithoutInventoryMovement": "yes"}, INVALID),
        ("another partner", {"CardCode": "C999"}, {}, REFUSED),
        ("no partner", {"CardCode": None}, {}, REFUSED),
        ("another currency", {"DocCurrency": "USD"}, {}, REFUSED),
        ("a date that is none", {"DocDate": "23.11.2026"}, {}, REFUSED),
        ("an unknown field", {"U_Other": "x"}, {}, INVALID),
        ("a field that is too long", {"U_RefundflowId": "x" * 51}, {}, INVALID),
        ("a text that is a number", {"Comments": 7}, {}, INVALID),
        ("no lines", {"DocumentLines": []}, {}, REFUSED),
        ("lines that are none", {"DocumentLines": {}}, {}, REFUSED),
        ("without a base: no such item", {}, {"BaseType": -1, "ItemCode": "Z"}, REFUSED),
        ("without a base: no price", {}, {"BaseType": -1, "ItemCode": "A", "TaxCode": "A1"}, REFUSED),
        ("without a base: no tax", {}, {"BaseType": -1, "ItemCode": "A", "UnitPrice": 1}, REFUSED),
    ],
)
def test_a_memo_that_would_be_refused_is_refused_and_moves_nothing(
    company: Company, _case: str, head: Record, row: Record, wanted: tuple[int, str]
) -> None:
    made = company.unpaid()
    rows = [{"BaseType": 13, "BaseEntry": made["invoices"][0], "BaseLine": 0, **row}]

    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": rows, **head})) == wanted
    assert company.book() == []
    assert company.get("CreditNotes").body["value"] == []


def test_two_rows_may_not_draw_the_same_base_line_twice(company: Company) -> None:
    made = company.unpaid()
    row = {"BaseType": 13, "BaseEntry": made["invoices"][0], "BaseLine": 0, "Quantity": 2}
    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": [row, row]})) == REFUSED
    assert company.book() == []


def test_a_body_that_is_no_object_is_refused(company: Company) -> None:
    for body in (b"", b"[]", b"{", b'{"CardCode": NaN}'):
        assert code_of(company.post("CreditNotes", body)) == INVALID


def test_a_locked_period_and_the_companys_own_check_refuse(company: Company) -> None:
    made = company.unpaid()
    rows = only(BaseType=13, BaseEntry=made["invoices"][0], BaseLine=0, Quantity=1)
    company.set(locked_until="2026-11-23", rejects_duplicates=True)
    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": rows})) == REFUSED

    body = {**MEMO, "DocDate": "2026-11-24", "TaxDate": "2026-11-24", "DocDueDate": "2026-11-24"}
    company.now += timedelta(days=1)
    company.login()
    assert company.post("CreditNotes", {**body, "DocumentLines": rows}).status == 201
    assert code_of(company.post("CreditNotes", {**body, "DocumentLines": rows})) == (400, "-1116")
    assert [each[0] for each in company.book()] == ["credit_note", "restock"]


def test_without_the_user_field_its_name_is_refused_everywhere(company: Company) -> None:
    made = company.unpaid()
    company.set(document_fields=[], payment_fields=[])
    rows = only(BaseType=13, BaseEntry=made["invoices"][0], BaseLine=0)
    refused = company.post("CreditNotes", {**MEMO, "DocumentLines": rows})

    assert (code_of(refused), "U_RefundflowId" in refused.body["error"]["message"]) == (INVALID, True)
    assert code_of(company.get("CreditNotes?$filter=U_RefundflowId%20eq%20'rf_1'")) == (400, "201")
    assert code_of(company.get("VendorPayments?$filter=U_RefundflowId%20eq%20'rf_1'")) == (400, "201")
    assert "U_RefundflowId" not in company.get("Orders(1)").body
    plain = {"CardCode": "C20000", "NumAtCard": "1050", "Comments": "refundflow rf_1", "DocumentLines": rows}
    assert company.post("CreditNotes", plain).status == 201
    assert company.sap.book.lines("credit_note")[0]["reference"] == "refundflow rf_1"
    assert company.found("CreditNotes", "NumAtCard eq '1050' and contains(Comments,'rf_1')") == [1]


def test_a_reserve_invoice_is_shown_as_one_and_no_base(company: Company) -> None:
    made = company.seed(is_invoiced=True, is_reserve=True)
    invoice = made["invoices"][0]
    assert company.get(f"Invoices({invoice})").body["ReserveInvoice"] == "tYES"
    rows = only(BaseType=13, BaseEntry=invoice, BaseLine=0)
    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": rows})) == REFUSED


def test_shipping_is_a_line_that_has_no_stock(company: Company) -> None:
    made = company.seed(number="8", shipping_minor=490, is_invoiced=True)
    assert made["total_minor"] == 3620
    rows = [{"BaseType": 13, "BaseEntry": made["invoices"][0], "BaseLine": n} for n in range(3)]
    memo = company.post("CreditNotes", {**MEMO, "DocumentLines": rows})

    assert memo.body["DocTotal"] == 36.2
    assert company.book() == [("credit_note", None, 3620), ("restock", "A", 2), ("restock", "B", 3)]
    assert company.seed(shipping_minor=490)["lines"][2] == {"id": 2, "sku": "SHIPPING", "quantity": 1}
    company.post("Orders(3)/Cancel")
    assert [each[1] for each in company.book()[3:]] == [None, "A", "B"]


def test_quantities_and_prices_have_no_floating_point_dust(company: Company) -> None:
    made = company.seed(
        lines=[{"sku": "C", "quantity": 3, "unit_minor": 1, "tax_code": "T1"}], currency="BHD"
    )
    assert made["total_minor"] == 3
    row = {"ItemCode": "C", "Quantity": 3, "UnitPrice": 0.335, "TaxCode": "T1"}
    memo = company.post("CreditNotes", {"CardCode": "C20000", "DocCurrency": "BHD", "DocumentLines": [row]})
    assert (memo.body["DocTotal"], company.book()[0]) == (1.088, ("credit_note", None, 1088))


# ---------------------------------------------------------------- outgoing payments


def payment(memo: int, amount: float, **more: Any) -> Record:
    return {
        "DocType": "rCustomer",
        "CardCode": "C20000",
        "DocDate": "2026-11-23",
        "TransferAccount": "161020",
        "TransferDate": "2026-11-23",
        "TransferSum": amount,
        "TransferReference": "re_3Abc",
        "U_RefundflowId": "rf_1",
        "PaymentInvoices": [
            {"DocEntry": memo, "InvoiceType": "it_CredItnote", "SumApplied": amount, "InstallmentId": 1}
        ],
        **more,
    }


def memo_of(company: Company) -> int:
    """A credit memo over 23.80 EUR without a base, for a paid order."""
    company.paid()
    row = {"ItemCode": "A", "Quantity": 2, "UnitPrice": 10, "TaxCode": "A1"}
    body = {**MEMO, "NumAtCard": "1050", "DocumentLines": [row]}
    return int(company.post("CreditNotes", body).body["DocEntry"])


def test_a_payment_settles_the_memo_and_is_booked_once_without_moving_money(company: Company) -> None:
    memo = memo_of(company)
    made = company.post("VendorPayments", payment(memo, 20.5))
    rest = company.post("VendorPayments", payment(memo, 3.3))
    more = company.post("VendorPayments", payment(memo, 0.01))

    assert (made.status, made.body["TransferSum"], made.body["Cancelled"]) == (201, 20.5, "tNO")
    assert (rest.status, code_of(more)) == (201, REFUSED)
    lines = company.sap.book.lines("record_refund")
    assert [(x["id"], x["amount_minor"], x["currency"], x["reference"]) for x in lines] == [
        ("1", 2050, "EUR", "rf_1"),
        ("2", 330, "EUR", "rf_1"),
    ]
    assert lines[0]["target"]["number"] == "1050"
    assert (lines[0]["target"]["credit_notes"], lines[0]["target"]["order"]) == ([str(memo)], "2")
    shown = company.get(f"CreditNotes({memo})").body
    assert (shown["DocumentStatus"], shown["PaidToDate"]) == ("bost_Close", 23.8)
    assert company.found("VendorPayments", "U_RefundflowId eq 'rf_1'") == [1, 2]


@pytest.mark.parametrize(
    ("_case", "change", "row", "wanted"),
    [
        ("more than the memo", {"TransferSum": 23.81}, {"SumApplied": 23.81}, REFUSED),
        ("more applied than paid", {"TransferSum": 10}, {"SumApplied": 10.01}, REFUSED),
        ("the enum in plain spelling", {}, {"InvoiceType": "it_CreditNote"}, INVALID),
        ("an invoice by omission", {}, {"InvoiceType": None}, REFUSED),
        ("another instalment", {}, {"InstallmentId": 2}, REFUSED),
        ("no such memo", {}, {"DocEntry": 9}, REFUSED),
        ("no type", {"DocType": None}, {}, REFUSED),
        ("a supplier", {"DocType": "rSupplier"}, {}, REFUSED),
        ("no account", {"TransferAccount": None}, {}, REFUSED),
        ("an unknown account", {"TransferAccount": "999"}, {}, REFUSED),
        ("no sum", {"TransferSum": 0}, {}, REFUSED),
        ("a sum as text", {"TransferSum": "20.50"}, {}, INVALID),
        ("parts of a cent", {"TransferSum": 20.505}, {}, INVALID),
        ("less than nothing", {"TransferSum": -1}, {}, INVALID),
        ("another currency", {"DocCurrency": "USD"}, {}, REFUSED),
        ("a reference that is too long", {"TransferReference": "x" * 28}, {}, INVALID),
        ("a counter reference that is too long", {"CounterReference": "x" * 9}, {}, INVALID),
        ("a document's property", {"NumAtCard": "1050"}, {}, INVALID),
        ("an unknown property of a row", {}, {"DocNum": 1}, INVALID),
    ],
)
def test_a_payment_that_would_be_refused_is_refused_and_books_nothing(
    company: Company, _case: str, change: Record, row: Record, wanted: tuple[int, str]
) -> None:
    body = payment(memo_of(company), 20.5, **change)
    body["PaymentInvoices"][0] |= row

    assert code_of(company.post("VendorPayments", body)) == wanted
    assert company.sap.book.lines("record_refund") == []


def test_a_payment_that_names_no_document_is_taken_on_account(company: Company) -> None:
    memo = memo_of(company)
    made = company.post("VendorPayments", payment(memo, 5, PaymentInvoices=[]))

    assert (made.status, made.body["PaymentInvoices"]) == (201, [])
    assert company.get(f"CreditNotes({memo})").body["PaidToDate"] == 0
    line = company.sap.book.lines("record_refund")[0]
    assert (line["amount_minor"], line["target"]["order"]) == (500, None)


def test_a_payment_without_a_sum_applied_takes_all_that_is_open(company: Company) -> None:
    body = payment(memo_of(company), 23.8)
    del body["PaymentInvoices"][0]["SumApplied"]
    assert company.post("VendorPayments", body).body["PaymentInvoices"][0]["SumApplied"] == 23.8


def test_a_cancelled_payment_opens_the_memo_again(company: Company) -> None:
    memo = memo_of(company)
    company.post("VendorPayments", payment(memo, 23.8))
    undone = company.post("VendorPayments(1)/Cancel")

    assert (undone.status, code_of(company.post("VendorPayments(1)/Cancel"))) == (204, REFUSED)
    assert company.get(f"CreditNotes({memo})").body["DocumentStatus"] == "bost_Open"
    assert company.found("VendorPayments", "U_RefundflowId eq 'rf_1' and Cancelled eq 'tNO'") == []
    assert company.book()[2:] == [("record_refund", None, 2380), ("cancel_refund_record", None, 2380)]


def test_what_customers_paid_is_seen_and_what_is_only_authorised_is_not(company: Company) -> None:
    held = {"reference": "pi_2", "amount_minor": 100, "is_captured": False}
    made = company.paid(payments=[{"gateway": "stripe", "reference": "pi_1", "amount_minor": 3000}, held])

    shown = company.get("IncomingPayments").body["value"]
    assert [(x["TransferSum"], x["TransferReference"], x["Remarks"]) for x in shown] == [
        (30.0, "pi_1", "stripe pi_1")
    ]
    invoice = company.get(f"Invoices({made['invoices'][0]})").body
    assert (invoice["PaidToDate"], invoice["DocumentStatus"]) == (30.0, "bost_Open")
    assert [each["amount_minor"] for each in made["payments"]] == [3000]
    company.settle(invoice=made["invoices"][0], pay_minor=130)
    assert company.get(f"Invoices({made['invoices'][0]})").body["DocumentStatus"] == "bost_Close"
    assert company.book() == []


# ---------------------------------------------------------------- approval


def test_an_approval_makes_a_draft_and_says_that_nothing_was_found(company: Company) -> None:
    made = company.unpaid()
    company.set(approval=["CreditNotes"])
    rows = only(BaseType=13, BaseEntry=made["invoices"][0], BaseLine=0)
    loud = company.post("CreditNotes", {**MEMO, "DocumentLines": rows})

    assert code_of(loud) == (400, "-2028")
    assert company.found("CreditNotes", "U_RefundflowId eq 'rf_1'") == []
    draft = company.get("Drafts?$filter=U_RefundflowId%20eq%20'rf_1'").body["value"][0]
    assert (draft["DocObjectCode"], draft["AuthorizationStatus"]) == ("oCreditNotes", "dasPending")
    assert company.book() == [("create_draft", None, 2380)]

    company.settle(draft=draft["DocEntry"], status="approved")
    assert company.get("Drafts(1)").body["AuthorizationStatus"] == "dasApproved"
    assert company.found("CreditNotes", "U_RefundflowId eq 'rf_1'") == []
    posted = company.settle(draft=draft["DocEntry"], status="generated")
    assert (posted["DocTotal"], company.found("CreditNotes", "U_RefundflowId eq 'rf_1'")) == (23.8, [1])
    assert company.book()[1:] == [("credit_note", None, 2380), ("restock", "A", 2)]
    assert company.sap.book.lines("credit_note")[0]["by"] == "staff"
    with pytest.raises(ValueError, match="Generated"):
        company.settle(draft=1, status="rejected")


def test_a_204_means_a_document_only_when_it_is_found(company: Company) -> None:
    memo = memo_of(company)
    posted = company.post("VendorPayments", payment(memo, 10), **QUIET)
    company.fault(Kind.SLOW_PENDING, "create_vendor_payment")
    waiting = company.post("VendorPayments", payment(memo, 13, U_RefundflowId="rf_2"), **QUIET)

    assert (posted.status, posted.payload, waiting.status, waiting.payload) == (204, b"", 204, b"")
    assert ("Location" in posted.headers, "Location" in waiting.headers) == (True, False)
    assert company.found("VendorPayments", "U_RefundflowId eq 'rf_2'") == []
    assert company.found("Drafts", "U_RefundflowId eq 'rf_2'") == []
    assert company.found("PaymentDrafts", "U_RefundflowId eq 'rf_2'") == [1]
    assert company.get(f"CreditNotes({memo})").body["PaidToDate"] == 10.0

    company.settle(payment_draft=1, status="generated")
    assert [x["amount_minor"] for x in company.sap.book.lines("record_refund")] == [1000, 1300]


def test_a_rejected_draft_is_never_posted(company: Company) -> None:
    memo = memo_of(company)
    company.set(approval=["VendorPayments"])
    company.post("VendorPayments", payment(memo, 10))
    assert company.settle(payment_draft=1, status="rejected")["AuthorizationStatus"] == "pasRejected"
    with pytest.raises(ValueError, match="Rejected"):
        company.settle(payment_draft=1, status="generated")
    assert company.sap.book.lines("record_refund") == []


def test_a_draft_that_would_be_refused_is_not_even_made(company: Company) -> None:
    company.set(approval=["CreditNotes"])
    rows = only(BaseType=13, BaseEntry=9, BaseLine=0)
    assert code_of(company.post("CreditNotes", {**MEMO, "DocumentLines": rows})) == REFUSED
    assert company.get("Drafts").body["value"] == []


# ---------------------------------------------------------------- cancellation documents


def test_an_untouched_invoice_is_voided_by_a_document_of_its_own(company: Company) -> None:
    made = company.seed(number="9", is_invoiced=True)
    answer = company.post(f"Invoices({made['invoices'][0]})/CreateCancellationDocument")

    assert (answer.status, answer.body["CancelStatus"]) == (200, "csCancellation")
    assert [each["BaseType"] for each in answer.body["DocumentLines"]] == [13, 13]
    assert company.book() == [("void_invoice", None, 3130), ("restock", "A", 2), ("restock", "B", 3)]
    shown = company.get(f"Invoices({made['invoices'][0]})").body
    assert (shown["Cancelled"], shown["CancelStatus"]) == ("tYES", "csYes")
    again = company.post(f"Invoices({made['invoices'][0]})/CreateCancellationDocument")
    assert code_of(again) == REFUSED


def test_a_voided_invoice_of_a_delivery_moves_no_stock_but_opens_the_delivery(company: Company) -> None:
    made = company.unpaid()
    company.post(f"Invoices({made['invoices'][0]})/CreateCancellationDocument")
    assert company.book() == [("void_invoice", None, 3130)]
    assert company.get(f"DeliveryNotes({made['deliveries'][0]})").body["DocumentStatus"] == "bost_Open"

    company.post(f"DeliveryNotes({made['deliveries'][0]})/CreateCancellationDocument")
    assert company.book()[1:] == [("void_delivery", None, 3130), ("restock", "A", 2), ("restock", "B", 3)]
    assert company.get(f"Orders({made['id']})").body["DocumentStatus"] == "bost_Close"


def test_a_paid_or_credited_invoice_cannot_be_voided(company: Company) -> None:
    made, other = company.paid(), company.unpaid()
    invoice = other["invoices"][0]
    rows = only(BaseType=13, BaseEntry=invoice, BaseLine=0)
    memo = company.post("CreditNotes", {**MEMO, "DocumentLines": rows}).body["DocEntry"]

    for entry in (made["invoices"][0], invoice):
        assert code_of(company.post(f"Invoices({entry})/CreateCancellationDocument")) == REFUSED
    assert company.post(f"CreditNotes({memo})/CreateCancellationDocument").status == 200
    assert company.book()[2:] == [("void_credit_note", None, 2380), ("unstock", "A", 2)]
    # The trap: the cancellation document carries our field and is not itself cancelled.
    assert company.found("CreditNotes", "U_RefundflowId eq 'rf_1' and Cancelled eq 'tNO'") == [2]
    assert company.found("CreditNotes", "U_RefundflowId eq 'rf_1' and CancelStatus eq 'csNo'") == []
    assert company.get(f"Invoices({invoice})").body["PaidToDate"] == 0
    assert company.post(f"Invoices({invoice})/CreateCancellationDocument").status == 200


def test_a_memo_that_was_paid_out_or_whose_goods_are_gone_stays(company: Company) -> None:
    memo = memo_of(company)
    company.settle(item="A", stock=1)
    short = company.post(f"CreditNotes({memo})/CreateCancellationDocument")
    company.settle(item="A", stock=10)
    company.post("VendorPayments", payment(memo, 1))
    paid = company.post(f"CreditNotes({memo})/CreateCancellationDocument")

    assert (code_of(short), code_of(paid)) == ((400, "-10"), REFUSED)
    assert company.sap.book.lines("void_credit_note") == []


# ---------------------------------------------------------------- faults and the controls


def test_a_lost_reply_leaves_the_effect_and_a_lost_request_does_not(company: Company) -> None:
    company.fault(Kind.LOST_REQUEST, "cancel_order")
    assert isinstance(company.send("POST", "Orders(1)/Cancel"), Cut)
    assert company.book() == []
    company.fault(Kind.LOST_REPLY, "cancel_order")
    assert isinstance(company.send("POST", "Orders(1)/Cancel"), Cut)
    assert [each[0] for each in company.book()] == ["cancel_order", "restock", "restock"]
    assert company.get("Orders(1)").body["Cancelled"] == "tYES"


@pytest.mark.parametrize(
    ("operation", "code", "wanted"),
    [
        ("cancel_order", "", (400, "-5002")),
        ("cancel_order", "-6006", (400, "-6006")),
        ("cancel_order", "-2039", (412, "-2039")),
        ("cancel_order", "-2028", (400, "-2028")),
        ("get_order", "", (400, "-6006")),
        ("get_order", "-2028", (404, "-2028")),
        ("login", "", (401, "-304")),
    ],
)
def test_refusals_on_demand_are_the_vendors_own(
    company: Company, operation: str, code: str, wanted: tuple[int, str]
) -> None:
    company.fault(Kind.REFUSE, operation, code=code)
    calls = {"cancel_order": ("POST", "Orders(1)/Cancel"), "get_order": ("GET", "Orders(1)")}
    method, path = calls.get(operation, ("POST", "Login"))

    assert code_of(company.ask(method, path, LOGIN if operation == "login" else None)) == wanted
    assert company.book() == []


def test_status_faults_speak_the_vendors_shape_and_html_comes_from_a_proxy(company: Company) -> None:
    company.fault(Kind.STATUS, "cancel_order", status=503)
    company.fault(Kind.HTML, "cancel_order", status=502)
    company.fault(Kind.REFUSE_AUTH, "cancel_order")

    assert code_of(company.post("Orders(1)/Cancel")) == (503, "-1")
    assert company.post("Orders(1)/Cancel").content_type == "text/html"
    assert code_of(company.post("Orders(1)/Cancel")) == (401, "301")
    assert company.book() == []
    company.fault(Kind.STATUS, "cancel_order", status=500, is_after_effect=True)
    assert company.post("Orders(1)/Cancel").status == 500
    assert [each[0] for each in company.book()] == ["cancel_order", "restock", "restock"]


def test_a_payment_and_a_memo_marked_to_fail_late_are_undone_when_told(company: Company) -> None:
    memo = memo_of(company)
    company.fault(Kind.LATE_FAILURE, "create_vendor_payment")
    company.post("VendorPayments", payment(memo, 23.8))
    company.fault(Kind.LATE_FAILURE, "create_credit_note")
    row = {"ItemCode": "B", "UnitPrice": 1, "TaxCode": "EX"}
    company.post("CreditNotes", {**MEMO, "DocumentLines": [row]})

    undone = company.world.settle(NAME, {})
    assert [each["Cancelled"] for each in undone] == ["tYES", "tYES"]
    assert company.book()[5:] == [
        ("cancel_refund_record", None, 2380),
        ("void_credit_note", None, 100),
        ("unstock", "B", 1),
    ]
    assert company.world.settle(NAME, {}) == []


def test_people_at_the_client_deliver_invoice_and_cancel(company: Company) -> None:
    delivered = company.settle(order=1, deliver={"1": 2})
    assert [(x["ItemCode"], x["Quantity"], x["BaseType"]) for x in delivered["DocumentLines"]] == [
        ("B", 2.0, 17)
    ]
    invoiced = company.settle(order=1, invoice=True)
    bases = [(x["ItemCode"], x["Quantity"], x["BaseType"]) for x in invoiced["DocumentLines"]]
    assert bases == [("B", 2.0, 15), ("A", 2.0, 17), ("B", 1.0, 17)]
    assert company.settle(item="B") == {"sku": "B", "stock": 2, "committed": 0, "available": 2}
    assert company.get("Orders(1)").body["DocumentStatus"] == "bost_Close"
    assert company.book() == []

    other = company.seed()
    assert company.settle(order=other["id"], cancel=True)["Cancelled"] == "tYES"
    assert [x["by"] for x in company.sap.book.lines("cancel_order")] == ["staff"]
    third = company.seed()
    assert company.settle(order=third["id"], close=True)["DocumentStatus"] == "bost_Close"
    with pytest.raises(ValueError, match="closed"):
        company.settle(order=third["id"], cancel=True)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"order": 99, "cancel": True}, NoSuchObjectError),
        ({"item": "gone"}, NoSuchObjectError),
        ({"order": 1}, ValueError),
        ({"order": 1, "deliver": {"0": 9}}, ValueError),
    ],
)
def test_what_cannot_be_settled_is_said(company: Company, data: Record, error: type[Exception]) -> None:
    with pytest.raises(error):
        company.settle(**data)


def test_seeds_take_ids_and_refuse_what_they_cannot_read(company: Company) -> None:
    line = {"id": 4, "sku": "D", "unit_minor": 5, "stock": 7, "shipped": 1, "warehouse": "77"}
    made = company.seed(id=123, doc_num=990, lines=[line], delivery_id=77, invoice_id=88, is_invoiced=True)

    assert (made["id"], made["doc_num"], made["deliveries"], made["invoices"]) == (123, 990, [77], [88])
    assert made["lines"] == [{"id": 4, "sku": "D", "quantity": 1}]
    assert company.stock("D") == (7, 0)
    for wrong in ({"id": 123}, {"lines": [{"sku": "D"}]}, {"settings": {"no_such": 1}}):
        with pytest.raises(ValueError, match=r"exists|cannot seed"):
            company.seed(**wrong)
    company.world.reset()
    assert company.sap.papers["Orders"] == {}


def test_every_answer_fits_the_published_description(company: Company) -> None:
    described = specs(NAME) / "service-layer.openapi.json"
    memo = memo_of(company)
    company.settle(order=1, deliver=True)
    company.post("Returns", {**MEMO, "DocumentLines": only(BaseType=15, BaseEntry=2, BaseLine=0)})
    made = company.post("VendorPayments", payment(memo, 10))
    check_response(described, "POST", "/VendorPayments", 201, _without_nulls(made.body))
    for kind in (
        "Orders",
        "DeliveryNotes",
        "Invoices",
        "Returns",
        "CreditNotes",
        "VendorPayments",
        "IncomingPayments",
    ):
        listed = company.get(kind)
        assert listed.body["value"], kind
        check_response(described, "GET", f"/{kind}", listed.status, _without_nulls(listed.body))
        own = {"@odata.context", "@odata.etag", "U_RefundflowId"}
        entry = listed.body["value"][0]["DocEntry"]
        one = {name: value for name, value in company.get(f"{kind}({entry})").body.items() if name not in own}
        template = f"/{kind}({{docEntry}})"
        check_response(described, "GET", template, 200, _without_nulls(one))
        entity = "Payment" if kind.endswith("Payments") else "Document"
        names = json.loads(described.read_text())["components"]["schemas"][entity]["properties"]
        assert set(one) - set(names) == set()
    check_response(described, "POST", "/Login", 200, company.post("Login", LOGIN).body)
    check_document(described, company.get("Orders(99)").body, "/components/schemas/ServiceLayerError")


def _without_nulls(value: Any) -> Any:
    """The description is of version 3 and knows no null, which the real one sends all the same."""
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return value
