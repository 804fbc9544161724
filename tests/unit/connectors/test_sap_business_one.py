"""SAP Business One's connector: what is sent, and what every answer is taken for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from refundflow.connectors.base import EFFECTS, Capability, Health, Idempotency, Polled
from refundflow.connectors.sap_business_one import (
    SETTLED_S,
    SPEC,
    TOPIC,
    Company,
    Credentials,
    Refusal,
    SapBusinessOne,
    SapInbound,
    bare_number,
    build,
    company_of,
    decimal_of,
    error_of,
    literal,
    read_cursor,
    read_document,
    read_login,
    short_reference,
    where_number,
    worth_of,
)
from refundflow.domain.commands import CancelOrder, CreditNote, RecordRefund, Restock, VoidInvoice
from refundflow.domain.facts import (
    InvoiceFacts,
    InvoiceState,
    ItemQuantity,
    LineQuantity,
    OrderFacts,
    OrderRef,
    TakesBack,
)
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import Delivery, Irrelevant, MalformedError, OrderCancelledElsewhere, Refused
from refundflow.domain.money import Money
from refundflow.domain.outcomes import (
    AlreadyDone,
    Done,
    NotFound,
    Outcome,
    Pending,
    Permanent,
    Retryable,
    Unknown,
)
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, NotSentError, Request, Response
from refundflow.transport.http import RequestsWire, _record, record_exchanges
from refundflow.transport.pacing import LocalPacer
from tests.support.fake_http import FakeHttp, FakeWire, answer

KEY = StepKey("RF-00K3ZQ4M7ABCDEF.post_ledger.1")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CREDENTIALS = Credentials(
    base_url="https://sap.shop.example:50000/b1s/v2",
    company_db="SBOPRACTICE",
    username="refundflow",
    password=Secret("practice-sap-password"),
)


#: A company that is set up as we ask for.
USUAL = Company()


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


# ------------------------------------------------------------------------------------------------ answers


def row(num: int = 0, sku: str = "A", quantity: Any = 2, price: float = 10.0, **more: Any) -> dict[str, Any]:
    """A line without tax, nothing drawn from it."""
    return {
        "LineNum": num,
        "ItemCode": sku,
        "ItemDescription": f"Item {sku}",
        "Quantity": quantity,
        "RemainingOpenQuantity": quantity,
        "Price": price,
        "UnitPrice": price,
        "LineTotal": price * quantity,
        "TaxTotal": 0.0,
        "TaxPercentagePerRow": 0.0,
        "TaxCode": "EX",
        "WarehouseCode": "01",
        "LineStatus": "bost_Open",
        "BaseType": -1,
        "BaseEntry": None,
        "BaseLine": None,
        **more,
    }


def paper(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A document over two lamps and three bulbs, 27.50 EUR."""
    lines = list(rows) or [row(), row(1, "B", 3, 2.5)]
    return {
        "DocEntry": 123,
        "DocNum": 5001,
        "CardCode": "C20000",
        "NumAtCard": "1042",
        "DocumentStatus": "bost_Open",
        "Cancelled": "tNO",
        "CancelStatus": "csNo",
        "DocCurrency": "EUR",
        "DocRate": 1.0,
        "DocTotal": sum(line["LineTotal"] + line["TaxTotal"] for line in lines),
        "DocTotalFc": 0.0,
        "PaidToDate": 0.0,
        "PaidToDateFC": 0.0,
        "DiscountPercent": 0.0,
        "ReserveInvoice": "tNO",
        "CreationDate": "2026-11-20",
        "DocTime": "09:30:00",
        "UpdateDate": "2026-11-21T00:00:00Z",
        "UpdateTime": "10:15:30",
        "DocumentLines": lines,
        **more,
    }


def outgoing(**more: Any) -> dict[str, Any]:
    return {
        "DocEntry": 9,
        "DocNum": 109,
        "CardCode": "C20000",
        "DocCurrency": "EUR",
        "TransferSum": 27.5,
        "TransferReference": "re_1",
        "Cancelled": "tNO",
        "CancelStatus": "csNo",
        "U_RefundflowId": KEY,
        "PaymentInvoices": [
            {"DocEntry": 501, "InvoiceType": "it_CredItnote", "SumApplied": 27.5, "InstallmentId": 1}
        ],
        **more,
    }


def page(*rows: Any, **more: Any) -> Response:
    return answer(200, {"value": list(rows), **more})


NOTHING = page()
GONE = {"Cancelled": "tYES", "CancelStatus": "csYes", "DocumentStatus": "bost_Close"}


def error(code: str = "-5002", status: int = 400, text: str = "Der Beleg ist geschlossen") -> Response:
    return answer(status, {"error": {"code": code, "message": text, "details": []}})


def sap(*answers: Any, company: Company = USUAL, **more: Any) -> tuple[SapBusinessOne, FakeHttp]:
    http = FakeHttp(*answers, **more)
    return SapBusinessOne(http, company, lambda: NOW), http


def verbs(http: FakeHttp) -> list[str]:
    return [f"{request.method} {request.path.split('?')[0]}" for request in http.requests]


def options(request: Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.path).query))


# ------------------------------------------------------------------------------------------------ commands

CANCEL = CancelOrder(
    step_key=StepKey("RF-00K3ZQ4M7ABCDEF.cancel_order.1"),
    key="k",
    order_id="123",
    reason="customer",
    restock=True,
    order_number="1042",
)
INVOICE = InvoiceFacts(
    platform="sap-business-one",
    invoice_id="88",
    number="1042",
    state=InvoiceState.PAID,
    contact_id="C20000",
    total=eur(2750),
    due=eur(0),
    paid=eur(2750),
    credited=eur(0),
    lines=(),
    is_allocated=False,
)
ALL = (ItemQuantity("A", 2), ItemQuantity("B", 3))
NOTE = CreditNote(
    step_key=KEY,
    key=wire_key(KEY, 1),
    invoice=INVOICE,
    amount=eur(2750),
    number="CN-RF-00K3ZQ4M7ABCDEF-1",
    memo="Order #1042 cancelled",
    items=ALL,
    restock=True,
)
PAY = RecordRefund(
    step_key=KEY,
    key=wire_key(KEY, 1),
    amount=eur(2750),
    account_code="161020",
    credit_note_id="501",
    refund_reference="re_1",
)
BACK = Restock(
    step_key=KEY,
    key=wire_key(KEY, 1),
    order_id="123",
    currency="EUR",
    lines=(),
    is_return=True,
    order_number="#1042",
    items=ALL,
)
VOID = VoidInvoice(step_key=KEY, key="k", invoice=INVOICE)

DELIVERED = paper(
    row(0, "A", 2, BaseType=17, BaseEntry=123, BaseLine=0),
    row(1, "B", 3, 2.5, BaseType=17, BaseEntry=123, BaseLine=1),
    DocEntry=77,
)
PAID_INVOICE = paper(DocEntry=88, DocNum=7001, DocumentStatus="bost_Close", PaidToDate=27.5)
OPEN_INVOICE = paper(DocEntry=88, DocNum=7001)
MEMO = paper(DocEntry=501, DocNum=9001, U_RefundflowId=KEY)
RETURN = paper(DocEntry=33, DocNum=8001, U_RefundflowId=KEY)


# ------------------------------------------------------------------------------------------------ declaration


def test_every_effect_is_looked_for_or_cannot_act_twice() -> None:
    kinds = {c: o.idempotency for c, o in SPEC.operations.items() if c in EFFECTS}
    assert kinds == {
        Capability.CANCEL_ORDER: Idempotency.NATURAL,
        Capability.RESTOCK: Idempotency.LOOKUP,
        Capability.VOID_INVOICE: Idempotency.NATURAL,
        Capability.CREDIT_NOTE: Idempotency.LOOKUP,
        Capability.RECORD_REFUND: Idempotency.LOOKUP,
    }


def test_the_longest_row_of_calls_ends_before_an_absence_is_believed() -> None:
    # Looks (2), the invoice, the memo, looks again (2), the memo without base.
    assert 7 * (SPEC.connect_s + SPEC.read_s) < SETTLED_S
    assert SPEC.connect_s + SPEC.read_s <= 45


@pytest.mark.parametrize(
    ("_case", "changes", "word"),
    [
        ("the old version", {"base_url": "https://sap.example:50000/b1s/v1"}, "v2"),
        ("a field that is a condition", {"order_field": "NumAtCard eq 'x' or CardCode"}, "order_field"),
        ("a field of SAP's that is none", {"invoice_field": "DocEntry"}, "invoice_field"),
        ("a reference that is a condition", {"reference_field": "X eq '1'"}, "reference_field"),
        ("no such zone", {"time_zone": "Mars/Olympus"}, "time_zone"),
        ("no such currency", {"currencies": "$=dollar"}, "currencies"),
        ("no such source", {"customer_email": "order"}, "customer_email"),
    ],
)
def test_settings_that_cannot_work_are_told(_case: str, changes: dict[str, str], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replace(CREDENTIALS, **changes)  # type: ignore[arg-type] # names and texts


@pytest.mark.parametrize(
    ("field", "reference"),
    [
        ("RefundflowId", "U_RefundflowId"),
        ("U_Other", "U_Other"),
        ("none", ""),
        ("", ""),
        ("-", ""),
    ],
)
def test_the_reference_field_may_be_missing(field: str, reference: str) -> None:
    assert company_of(replace(CREDENTIALS, reference_field=field)).reference == reference


def test_the_invoices_field_is_the_orders_unless_it_is_named() -> None:
    assert company_of(replace(CREDENTIALS, order_field="U_ShopOrder")).invoice_field == "U_ShopOrder"
    assert company_of(replace(CREDENTIALS, invoice_field="DocNum")).invoice_field == "DocNum"


# ------------------------------------------------------------------------------------------------ sessions


def test_the_connection_is_made_with_a_session_and_the_given_certificates() -> None:
    wire = FakeWire()
    build(replace(CREDENTIALS, ca_file="/etc/sap.pem"), wire)
    door, http = wire.made
    assert (door["ca_file"], http["ca_file"]) == ("/etc/sap.pem", "/etc/sap.pem")
    assert "tokens" not in door
    assert (http["token_header"], http["token_format"]) == ("Cookie", "{}")
    (login,) = wire.token_requests
    assert (login.method, login.path, login.json) == (
        "POST",
        "/Login",
        {"CompanyDB": "SBOPRACTICE", "UserName": "refundflow", "Password": "practice-sap-password"},
    )


BODY = {"SessionId": "id-1", "Version": "1000290", "SessionTimeout": 30}


@pytest.mark.parametrize(
    ("_case", "cookies", "value"),
    [
        (
            "two headers joined",
            "B1SESSION=abc-1;HttpOnly;, ROUTEID=.node1; path=/b1s",
            "B1SESSION=abc-1; ROUTEID=.node1",
        ),
        (
            "a date with a comma",
            "ROUTEID=.node2; expires=Mon, 23-Nov-2026 12:30:00 GMT; path=/, B1SESSION=x; Secure; HttpOnly",
            "B1SESSION=x; ROUTEID=.node2",
        ),
        ("no load balancer", "B1SESSION=abc; HttpOnly", "B1SESSION=abc"),
        ("no cookie at all", "", "B1SESSION=id-1"),
        ("another's cookie", "XB1SESSION=no, B1SESSION=yes", "B1SESSION=yes"),
    ],
)
def test_a_login_is_both_cookies(_case: str, cookies: str, value: str) -> None:
    token = read_login(answer(200, BODY, {"Set-Cookie": cookies}))
    assert token is not None
    assert (token.value, token.life_s) == (value, 1800.0)


@pytest.mark.parametrize(
    "refused",
    [error("-304", 401), answer(200, "<html>"), answer(200, {"SessionId": ""}), answer(503, "busy")],
    ids=["refused", "a page", "no session", "too many sessions"],
)
def test_what_is_no_login_is_no_token(refused: Response) -> None:
    assert read_login(refused) is None


def test_an_untold_life_is_short() -> None:
    token = read_login(answer(200, {"SessionId": "x"}))
    assert token is not None
    assert token.life_s == 300.0


def test_what_is_kept_of_a_login_and_of_a_document_names_nobody() -> None:
    wire = FakeWire()
    build(CREDENTIALS, wire)
    http: Any = RequestsWire(LocalPacer()).http(**wire.made[0])
    told = answer(
        200,
        {**BODY, "SessionId": "a-session-id", **paper(CardName="Ada Lovelace", Address="Main Street 1")},
        {"Set-Cookie": "B1SESSION=a-session-id"},
    )
    refused = error("-304", 401, "wrong password practice-sap-password of Ada Lovelace")
    with record_exchanges() as exchanges:
        for response in (told, refused):
            _record(wire.token_requests[0], "https://sap", {}, http.redaction, response, 0.0, "")
    kept = str(exchanges)
    for word in ("practice-sap-password", "a-session-id", "Lovelace", "Main Street"):
        assert word not in kept
    assert "C20000" in kept


# ------------------------------------------------------------------------------------------------ queries


@pytest.mark.parametrize(
    ("field", "number", "where"),
    [
        ("NumAtCard", "#1042", "(NumAtCard eq '1042' or NumAtCard eq '#1042')"),
        ("U_ShopOrder", " 1042 ", "(U_ShopOrder eq '1042' or U_ShopOrder eq '#1042')"),
        ("NumAtCard", "10'42", "(NumAtCard eq '10''42' or NumAtCard eq '#10''42')"),
        ("DocNum", "7001", "DocNum eq 7001"),
        ("DocNum", "7001 or 1 eq 1", ""),
        ("NumAtCard", "#", ""),
        ("NumAtCard", "9" * 101, ""),
    ],
)
def test_a_number_is_asked_for_and_never_a_condition(field: str, number: str, where: str) -> None:
    assert where_number(field, number) == where


def test_texts_are_quoted() -> None:
    assert literal("O'Neil") == "'O''Neil'"
    assert bare_number("##7") == "7"


def test_queries_are_percent_encoded_and_pages_are_large() -> None:
    connector, http = sap(page(paper()))
    connector.read_order(OrderRef("", number="10 & 42"))
    request = http.sent
    assert "+" not in request.path
    assert request.params == ()
    assert request.path.startswith("/Orders?$select=DocEntry,DocNum,")
    assert options(request)["$filter"] == "(NumAtCard eq '10 & 42' or NumAtCard eq '#10 & 42')"
    assert request.headers["Prefer"] == "odata.maxpagesize=100"
    assert "CardName" not in request.path


@pytest.mark.parametrize(
    "link",
    [
        "Orders?$filter=NumAtCard%20eq%20'1042'&$skip=100",
        "https://evil.example/steal?$filter=NumAtCard%20eq%20'1042'&$skip=100",
        "/b1s/v2/Orders?$filter=NumAtCard%20eq%20'1042'&$skip=100",
    ],
)
def test_a_next_link_is_followed_at_home_only(link: str) -> None:
    connector, http = sap(page(paper(**GONE), **{"@odata.nextLink": link}), page(paper(DocEntry=124)))
    facts = connector.read_order(OrderRef("", number="1042"))
    assert isinstance(facts, OrderFacts)
    assert facts.order_id == "124"
    assert http.requests[1].path == "/Orders?$filter=NumAtCard%20eq%20'1042'&$skip=100"
    assert http.requests[1].headers == http.requests[0].headers


def test_a_list_without_end_is_given_up() -> None:
    connector, _ = sap(always=page(paper(), **{"@odata.nextLink": "Orders?$skip=1"}))
    assert isinstance(connector.read_order(OrderRef("", number="1042")), Unknown)
    connector, _ = sap(page(paper(), **{"@odata.nextLink": 5}))
    assert isinstance(connector.read_order(OrderRef("", number="1042")), Unknown)


@pytest.mark.parametrize("entry", ["0", "-1", "1)/Cancel", "12a", "१२३", "99999999999", "gid://x"])
def test_ids_that_are_none_are_not_sent(entry: str) -> None:
    connector, http = sap()
    invoice = replace(INVOICE, invoice_id=entry)
    said = [
        connector.read_order(OrderRef("", order_id=entry)),
        connector.cancel_order(replace(CANCEL, order_id=entry)),
        connector.void_invoice(replace(VOID, invoice=invoice)),
    ]
    assert all(isinstance(each, Permanent) and each.code == "unknown_reference" for each in said)
    assert isinstance(connector.find_cancel_order(replace(CANCEL, order_id=entry)), Unknown)
    assert http.requests == []


def test_an_order_that_is_not_named_is_not_asked_for() -> None:
    connector, http = sap()
    assert isinstance(connector.read_order(OrderRef("x")), Permanent)
    assert isinstance(connector.read_invoice(""), NotFound)
    assert isinstance(connector.restock(replace(BACK, order_number="")), Permanent)
    assert http.requests == []


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("_case", "body", "refusal"),
    [
        ("v2", {"error": {"code": "-5002", "message": "no", "details": []}}, Refusal("-5002", "no")),
        (
            "v1",
            {"error": {"code": -5002, "message": {"lang": "de-de", "value": "nein"}}},
            Refusal("-5002", "nein"),
        ),
        ("hint", {"error": {"code": "-2039", "message": "x"}}, Refusal("-2039", "somebody else changed the record meanwhile: x")),
        ("no code", {"error": {"message": "no"}}, None),
        ("a page", None, None),
        ("a list", [], None),
    ],
)  # fmt: skip
def test_both_shapes_of_an_error_are_read(_case: str, body: Any, refusal: Refusal | None) -> None:
    assert error_of(body) == refusal


READS: list[tuple[str, Callable[[SapBusinessOne], Any]]] = [
    ("read_order", lambda s: s.read_order(OrderRef("", number="1042"))),
    ("read_invoice", lambda s: s.read_invoice("1042")),
    ("poll", lambda s: s.poll("", NOW)),
]
WRITES: list[tuple[str, list[Response], Callable[[SapBusinessOne], Outcome], Response]] = [
    ("cancel_order", [answer(200, paper())], lambda s: s.cancel_order(CANCEL), answer(200, paper())),
    ("restock", [NOTHING, NOTHING, page(DELIVERED)], lambda s: s.restock(BACK), NOTHING),
    ("void_invoice", [answer(200, OPEN_INVOICE)], lambda s: s.void_invoice(VOID), answer(200, OPEN_INVOICE)),
    ("credit_note", [NOTHING, NOTHING, answer(200, OPEN_INVOICE)], lambda s: s.credit_note(NOTE), NOTHING),
    ("record_refund", [NOTHING, NOTHING, answer(200, MEMO)], lambda s: s.record_refund(PAY), NOTHING),
]
NAMED_WRITES = pytest.mark.parametrize(
    ("name", "before", "write", "after"), WRITES, ids=[each[0] for each in WRITES]
)


@pytest.mark.parametrize(("_name", "read"), READS)
@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        (error("301", 401), Retryable, "unauthorised"),
        (answer(403, "no"), Retryable, "unauthorised"),
        (answer(429, "", {"Retry-After": "3"}), Retryable, "throttled"),
        (answer(503, "<html>busy</html>"), Retryable, "unavailable"),
        (answer(500, ""), Retryable, "unavailable"),
        (error("-6006"), Permanent, "-6006"),
        (answer(400, "<html>bad</html>"), Unknown, ""),
        (answer(404, "<html>not here</html>"), Unknown, ""),
    ],
)
def test_a_read_that_is_not_answered_says_why(
    _name: str, read: Callable[[SapBusinessOne], Any], response: Response, kind: type, code: str
) -> None:
    said = read(sap(response)[0])
    assert type(said) is kind
    assert getattr(said, "code", "") == code


@NAMED_WRITES
@pytest.mark.parametrize(
    ("_case", "response", "kind", "code"),
    [
        ("a proxy's page", answer(400, "<html>bad</html>"), Unknown, ""),
        ("time out at the proxy", answer(504, "<html>"), Unknown, ""),
        ("under load", answer(503, "<html>"), Unknown, ""),
        ("broken", error("-1", 500), Unknown, ""),
        ("moved", answer(302, "", {"Location": "https://x"}), Unknown, ""),
        ("too often", answer(429, "", {"Retry-After": "3"}), Retryable, "throttled"),
        ("session", error("301", 401), Retryable, "unauthorised"),
        ("not allowed", answer(403, ""), Retryable, "unauthorised"),
    ],
)
def test_a_write_without_a_clear_answer_is_unknown(
    name: str,
    before: list[Response],
    write: Callable[[SapBusinessOne], Outcome],
    after: Response,
    _case: str,
    response: Response,
    kind: type,
    code: str,
) -> None:
    connector, http = sap(*before, response)
    said = write(connector)
    assert type(said) is kind
    assert getattr(said, "code", "") == code
    assert http.is_drained


@NAMED_WRITES
@pytest.mark.parametrize("code", ["-5002", "-1116", "-2035", "-2039", "-10", "-6006"])
def test_a_refusal_is_believed_when_nothing_is_there(
    name: str,
    before: list[Response],
    write: Callable[[SapBusinessOne], Outcome],
    after: Response,
    code: str,
) -> None:
    connector, http = sap(*before, error(code, 412 if code == "-2039" else 400), always=after)
    said = write(connector)
    assert isinstance(said, Permanent)
    assert said.code == code
    assert len([r for r in http.requests if r.method == "POST"]) == 1


@NAMED_WRITES
@pytest.mark.parametrize("trouble", [NotSentError("refused"), MaybeSentError("reset"), answer(500, "")])
def test_a_refusal_whose_look_fails_is_unknown_and_never_not_sent(
    name: str,
    before: list[Response],
    write: Callable[[SapBusinessOne], Outcome],
    after: Response,
    trouble: Any,
) -> None:
    assert isinstance(write(sap(*before, error(), trouble)[0]), Unknown)


@NAMED_WRITES
def test_a_yes_that_is_not_seen_afterwards_is_unknown(
    name: str, before: list[Response], write: Callable[[SapBusinessOne], Outcome], after: Response
) -> None:
    connector, _ = sap(*before, answer(204), always=after)
    assert isinstance(write(connector), Unknown)


@pytest.mark.parametrize(
    ("_name", "before", "write"),
    [each[:3] for each in WRITES if each[0] in ("restock", "credit_note", "record_refund")],
)
def test_no_such_record_may_be_a_draft_that_we_cannot_see(
    _name: str, before: list[Response], write: Callable[[SapBusinessOne], Outcome]
) -> None:
    connector, http = sap(*before, error("-2028"), always=NOTHING)
    said = write(connector)
    assert isinstance(said, Permanent)
    assert said.code == "draft_unseen"
    assert len([r for r in http.requests if r.method == "POST"]) == 1


@pytest.mark.parametrize(
    ("write", "rows"),
    [
        (lambda s: s.restock(BACK), RETURN),
        (lambda s: s.credit_note(NOTE), MEMO),
        (lambda s: s.record_refund(PAY), outgoing()),
    ],
    ids=["restock", "credit_note", "record_refund"],
)
def test_what_is_there_already_is_not_written_again(
    write: Callable[[SapBusinessOne], Outcome], rows: Any
) -> None:
    connector, http = sap(page(rows))
    said = write(connector)
    assert said == AlreadyDone(str(rows["DocEntry"]), said.detail)  # type: ignore[union-attr] # by the comparison
    assert http.sent.method == "GET"


@pytest.mark.parametrize(
    "write",
    [lambda s: s.restock(BACK), lambda s: s.credit_note(NOTE), lambda s: s.record_refund(PAY)],
)
@pytest.mark.parametrize(
    ("looks", "kind"),
    [
        ([error("-1000")], Permanent),  # no such user field
        ([answer(503, "")], Retryable),
        ([page(7)], Retryable),
        ([NOTHING, error("-6006")], Permanent),  # drafts may not be read
        ([NOTHING, answer(500, "")], Retryable),
    ],
)
def test_without_a_look_nothing_is_written(
    write: Callable[[SapBusinessOne], Outcome], looks: list[Response], kind: type
) -> None:
    connector, http = sap(*looks)
    assert type(write(connector)) is kind
    assert all(request.method == "GET" for request in http.requests)


FINDS: list[tuple[str, Callable[[SapBusinessOne], Any]]] = [
    ("cancel_order", lambda s: s.find_cancel_order(CANCEL)),
    ("restock", lambda s: s.find_restock(BACK)),
    ("carried", lambda s: s.find_restock(replace(BACK, carried_by=KEY))),
    ("void_invoice", lambda s: s.find_void_invoice(VOID)),
    ("credit_note", lambda s: s.find_credit_note(NOTE)),
    ("record_refund", lambda s: s.find_record_refund(PAY)),
]


@pytest.mark.parametrize(("_name", "find"), FINDS)
@pytest.mark.parametrize(
    "response", [error("-1000"), error("-2028", 404), error("-6006", 403), answer(500, "")]
)
def test_a_look_that_is_refused_is_no_word_about_the_effect(
    _name: str, find: Callable[[SapBusinessOne], Any], response: Response
) -> None:
    assert isinstance(find(sap(always=response)[0]), Unknown | Retryable)


# ------------------------------------------------------------------------------------------------ reading documents


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (5, Decimal(5)),
        (Decimal("25.500000000000004"), Decimal("25.5")),
        (Decimal("-0.0"), Decimal(0)),
        (True, None),
        ("5", None),
        (None, None),
        (Decimal("1e40"), None),
    ],
)
def test_numbers_have_six_decimals(value: Any, read: Decimal | None) -> None:
    assert decimal_of(value) == read


@pytest.mark.parametrize(
    ("_case", "change"),
    [
        ("no currency", {"DocCurrency": None}),
        ("a currency that is none", {"DocCurrency": "$"}),
        ("no total", {"DocTotal": None}),
        ("a broken cent", {"DocTotal": 10.005}),
        ("cancelled or not", {"Cancelled": "maybe"}),
        ("no lines", {"DocumentLines": None}),
        ("a line without a number", {"DocumentLines": [{"Quantity": 1}]}),
        ("a rate, and no foreign sum", {"DocRate": 1.1}),
    ],
)
def test_a_document_that_cannot_be_read_is_none(_case: str, change: dict[str, Any]) -> None:
    connector, _ = sap(answer(200, {**paper(), **change}))
    assert isinstance(connector.read_order(OrderRef("", order_id="123")), Unknown)


def test_another_document_than_the_one_asked_for_is_none() -> None:
    connector, _ = sap(answer(200, paper(DocEntry=124)))
    assert isinstance(connector.read_order(OrderRef("", order_id="123")), Unknown)


def test_a_foreign_document_is_read_in_its_own_currency() -> None:
    lines = [row(LineTotal=18.0, RowTotalFC=20.0, TaxTotal=3.42, TaxPercentagePerRow=19.0)]
    told = paper(*lines, DocCurrency="USD", DocRate=0.9, DocTotalFc=23.8, PaidToDate=9.0, PaidToDateFC=10.0)
    document = read_document(answer(200, told).json, Company())
    assert document is not None
    assert (document.total, document.paid, document.is_foreign) == (
        Money(2380, "USD"),
        Money(1000, "USD"),
        True,
    )
    assert worth_of(document, document.lines[0], Decimal(2)) == Money(2380, "USD")


def test_a_currency_of_the_companys_own_spelling_is_translated_both_ways() -> None:
    company = company_of(replace(CREDENTIALS, currencies="$=USD, €=EUR"))
    document = read_document(answer(200, paper(DocCurrency="$")).json, company)
    assert document is not None
    assert document.total == Money(2750, "USD")
    memo = {**MEMO, "DocCurrency": "€"}
    connector, http = sap(
        *(NOTHING, NOTHING, answer(200, {**OPEN_INVOICE, "DocCurrency": "€"}), answer(201, memo)),
        company=company,
    )
    assert isinstance(connector.credit_note(NOTE), Done)
    assert http.requests[-1].json["DocCurrency"] == "€"


@pytest.mark.parametrize(
    ("line", "discount", "units", "minor"),
    [
        (row(quantity=3, price=0.33, TaxTotal=0.19, TaxPercentagePerRow=19.0), 0, 3, 118),
        (row(quantity=3, price=0.33, TaxTotal=0.19, TaxPercentagePerRow=19.0), 0, 1, 39),
        (row(quantity=2, price=10.0, TaxTotal=3.42, TaxPercentagePerRow=19.0), 10, 2, 2142),
        (row(quantity=1, price=10.0), 100, 1, 0),
    ],
)
def test_the_worth_of_units_has_their_tax_and_the_whole_orders_discount(
    line: dict[str, Any], discount: int, units: int, minor: int
) -> None:
    document = read_document(answer(200, paper(line, DiscountPercent=discount)).json, Company())
    assert document is not None
    assert worth_of(document, document.lines[0], Decimal(units)) == eur(minor)


# ------------------------------------------------------------------------------------------------ orders


def facts_of(order: dict[str, Any], *follow: Response, company: Company = USUAL) -> Any:
    return sap(answer(200, order), *follow, company=company)[0].read_order(OrderRef("", order_id="123"))


def drawn(**left: int) -> dict[str, Any]:
    """The order with so many units left on its lines."""
    lines = [row(), row(1, "B", 3, 2.5)]
    for line in lines:
        line["RemainingOpenQuantity"] = left.get(line["ItemCode"], line["Quantity"])
        line["LineStatus"] = "bost_Open" if line["RemainingOpenQuantity"] else "bost_Close"
    return paper(*lines)


def test_an_open_order_needs_one_call() -> None:
    connector, http = sap(answer(200, paper()))
    facts = connector.read_order(OrderRef("", order_id="123"))
    assert isinstance(facts, OrderFacts)
    assert http.sent.path.startswith("/Orders(123)?$select=")
    assert facts.created_at == datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    assert facts.cancelled_at is None
    assert not facts.releases_authorisations


def test_times_are_the_servers_own() -> None:
    company = company_of(replace(CREDENTIALS, time_zone="Europe/Berlin"))
    facts = facts_of(paper(**GONE, CancelDate="2026-12-20"), company=company)
    assert facts.created_at == datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
    # Not `CancelDate`: that is when an order would lapse.
    assert facts.cancelled_at == datetime(2026, 11, 21, 9, 15, 30, tzinfo=UTC)


def test_dates_without_a_time_and_none_at_all() -> None:
    assert facts_of(paper(DocTime=None)).created_at == datetime(2026, 11, 20, tzinfo=UTC)
    assert isinstance(facts_of(paper(CreationDate=None)), Unknown)


def test_parts_of_units_are_for_a_person() -> None:
    answer_ = facts_of(paper(row(quantity=1.5)))
    assert isinstance(answer_, Permanent)
    assert answer_.code == "fractional_quantity"


def test_an_order_without_a_shops_number_is_called_by_its_own() -> None:
    assert facts_of(paper(NumAtCard=None)).number == "5001"


def test_a_drawn_order_without_a_number_cannot_be_followed() -> None:
    order = {**drawn(A=1), "NumAtCard": None}
    facts = facts_of(order)
    assert facts.cancels is TakesBack.PERSON
    assert facts.cancel_refusal


def invoiced_from(kind: int, entry: int, **more: Any) -> dict[str, Any]:
    return paper(
        row(0, "A", 2, BaseType=kind, BaseEntry=entry, BaseLine=0),
        row(1, "B", 3, 2.5, BaseType=kind, BaseEntry=entry, BaseLine=1),
        **{"DocEntry": 88, **more},
    )


SPENT = [
    {**line, "RemainingOpenQuantity": 0, "LineStatus": "bost_Close"} for line in DELIVERED["DocumentLines"]
]


@pytest.mark.parametrize(
    ("_case", "order", "deliveries", "invoices", "cancels", "word", "unfulfilled", "refundable"),
    [
        (
            "delivered whole",
            drawn(A=0, B=0), [DELIVERED], [],
            TakesBack.PERSON, "is delivered:", [0, 0], [2, 3],
        ),
        (
            "a cancelled delivery and its cancellation do not count, and what they leave is not explained",
            drawn(A=0, B=0), [{**DELIVERED, **GONE}, {**DELIVERED, "DocEntry": 78, "CancelStatus": "csCancellation"}], [],
            TakesBack.PERSON, "do not carry", [0, 0], [2, 3],
        ),
        (
            "invoiced from the order",
            drawn(A=0, B=0), [], [invoiced_from(17, 123)],
            TakesBack.REFUND, "", [2, 3], [2, 3],
        ),
        (
            "delivered, then invoiced",
            drawn(A=0, B=0), [{**DELIVERED, "DocumentLines": SPENT}], [invoiced_from(15, 77)],
            TakesBack.REFUND, "", [0, 0], [2, 3],
        ),
        (
            "two invoices",
            drawn(A=0, B=0),
            [],
            [
                paper(row(0, BaseType=17, BaseEntry=123, BaseLine=0), DocEntry=88),
                paper(row(0, "B", 3, 2.5, BaseType=17, BaseEntry=123, BaseLine=1), DocEntry=89),
            ],
            TakesBack.PERSON, "invoiced in part", [2, 3], [2, 3],
        ),
        (
            "an invoice of another order under the same number",
            drawn(A=1), [], [invoiced_from(17, 999)],
            TakesBack.PERSON, "do not carry", [1, 3], [2, 3],
        ),
        (
            "credited in part",
            drawn(A=0, B=0), [],
            [paper(
                row(0, "A", 2, BaseType=17, BaseEntry=123, BaseLine=0, RemainingOpenQuantity=1),
                row(1, "B", 3, 2.5, BaseType=17, BaseEntry=123, BaseLine=1),
                DocEntry=88,
            )],
            TakesBack.REFUND, "", [2, 3], [1, 3],
        ),
    ],
)  # fmt: skip
def test_what_follows_an_order_says_how_it_is_taken_back(
    _case: str,
    order: dict[str, Any],
    deliveries: list[Any],
    invoices: list[Any],
    cancels: TakesBack,
    word: str,
    unfulfilled: list[int],
    refundable: list[int],
) -> None:
    facts = facts_of(order, page(*deliveries), page(*invoices))
    assert isinstance(facts, OrderFacts)
    assert facts.cancels is cancels
    assert word in facts.cancel_refusal
    assert bool(word) is bool(facts.cancel_refusal)
    assert [line.unfulfilled for line in facts.lines] == unfulfilled
    assert [line.refundable for line in facts.lines] == refundable


def test_lines_closed_by_hand_are_removed_and_do_not_keep_the_rest_from_being_cancelled() -> None:
    facts = facts_of(paper(row(LineStatus="bost_Close"), row(1, "B", 3, 2.5)))
    assert [(x.quantity, x.unfulfilled) for x in facts.lines] == [(0, 0), (3, 3)]
    assert (facts.cancels, facts.cancel_refusal) == (TakesBack.CALL, "")


@pytest.mark.parametrize(
    ("orders", "kind", "order_id"),
    [
        ([], NotFound, ""),
        ([paper(**GONE)], OrderFacts, "123"),
        ([paper(**GONE), paper(DocEntry=124)], OrderFacts, "124"),
        ([paper(**GONE), paper(DocEntry=125, **GONE)], OrderFacts, "125"),
        ([paper(), paper(DocEntry=124)], Permanent, ""),
        ([paper(), paper(DocEntry=124, DocumentStatus="bost_Close")], Permanent, ""),
    ],
)
def test_only_one_live_order_may_have_a_number(orders: list[Any], kind: type, order_id: str) -> None:
    said = sap(page(*orders))[0].read_order(OrderRef("", number="1042"))
    assert isinstance(said, kind)
    assert getattr(said, "order_id", "") == order_id


def test_a_quote_is_never_more_than_the_order() -> None:
    facts = facts_of(paper())
    connector, _ = sap(always=answer(200, paper(DocTotal=27.49)))
    assert connector.quote_lines(facts, (LineQuantity("0", 2), LineQuantity("1", 3))) == eur(2749)
    assert connector.quote_lines(facts, (LineQuantity("0", 1),)) == eur(1000)
    for wrong in (LineQuantity("9", 1), LineQuantity("1", 4)):
        assert isinstance(connector.quote_lines(facts, (wrong,)), Permanent)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(200, {"CardName": None, "EmailAddress": None}), OrderFacts),
        (error("-2028", 404), OrderFacts),
        (answer(200, "{}"), Unknown),
        (answer(503, ""), Retryable),
    ],
)
def test_a_partner_that_cannot_be_read(response: Response, kind: type) -> None:
    company = Company(is_partner_read=True)
    connector, http = sap(answer(200, paper(CardCode="C'1/2")), response, company=company)
    assert isinstance(connector.read_order(OrderRef("", order_id="123")), kind)
    assert http.calls[1] == "GET /BusinessPartners('C''1%2F2')?$select=CardName,EmailAddress"


# ------------------------------------------------------------------------------------------------ cancel


def test_a_cancel_is_sent_without_a_body_and_seen_before_it_is_believed() -> None:
    connector, http = sap(answer(200, paper()), answer(204), answer(200, paper(**GONE)))
    assert isinstance(connector.cancel_order(CANCEL), Done)
    assert verbs(http) == ["GET /Orders(123)", "POST /Orders(123)/Cancel", "GET /Orders(123)"]
    assert (http.requests[1].json, http.requests[1].form) == (None, None)


@pytest.mark.parametrize(
    ("_case", "order", "kind", "code"),
    [
        ("cancelled", paper(**GONE), AlreadyDone, ""),
        ("drawn", drawn(A=1), Permanent, "drawn"),
        ("closed", paper(DocumentStatus="bost_Close"), Permanent, "closed"),
    ],
)
def test_a_cancel_that_cannot_be_is_not_tried(_case: str, order: Any, kind: type, code: str) -> None:
    connector, http = sap(answer(200, order))
    said = connector.cancel_order(CANCEL)
    assert type(said) is kind
    assert getattr(said, "code", "") == code
    assert http.is_drained


def test_a_cancel_refused_because_somebody_was_faster_is_done_already() -> None:
    connector, _ = sap(answer(200, paper()), error(), answer(200, paper(**GONE)))
    assert isinstance(connector.cancel_order(CANCEL), AlreadyDone)


def test_an_order_that_is_not_there() -> None:
    assert isinstance(sap(error("-2028", 404))[0].read_order(OrderRef("", order_id="123")), NotFound)
    assert isinstance(sap(error("-2028", 404))[0].cancel_order(CANCEL), Permanent)
    assert isinstance(sap(error("-2028", 404))[0].find_cancel_order(CANCEL), Unknown)


# ------------------------------------------------------------------------------------------------ stock


def test_a_return_names_its_deliveries() -> None:
    second = {**DELIVERED, "DocEntry": 79}
    first = {**DELIVERED, "DocumentLines": [{**DELIVERED["DocumentLines"][0], "RemainingOpenQuantity": 1}]}
    connector, http = sap(NOTHING, NOTHING, page(second, first), answer(201, RETURN))
    assert connector.restock(replace(BACK, location="02")) == Done("33", "return 8001")
    assert verbs(http) == ["GET /Returns", "GET /Drafts", "GET /DeliveryNotes", "POST /Returns"]
    assert http.requests[-1].json == {
        "CardCode": "C20000",
        "DocDate": "2026-11-23",
        "NumAtCard": "1042",
        "Comments": f"refundflow {KEY} goods came back",
        "U_RefundflowId": KEY,
        "DocumentLines": [
            {"BaseType": 15, "BaseEntry": 77, "BaseLine": 0, "Quantity": 1, "WarehouseCode": "02"},
            {"BaseType": 15, "BaseEntry": 79, "BaseLine": 0, "Quantity": 1, "WarehouseCode": "02"},
            {"BaseType": 15, "BaseEntry": 79, "BaseLine": 1, "Quantity": 3, "WarehouseCode": "02"},
        ],
    }


@pytest.mark.parametrize(
    ("_case", "deliveries", "code"),
    [
        ("none", [], "not_returnable"),
        ("cancelled", [{**DELIVERED, **GONE}], "not_returnable"),
        ("invoiced", [{**DELIVERED, "DocumentLines": SPENT}], "not_returnable"),
        ("of another order", [{**DELIVERED, "DocumentLines": [{**x, "BaseEntry": 999} for x in SPENT]}], "not_returnable"),
        ("of two partners", [DELIVERED, {**DELIVERED, "DocEntry": 79, "CardCode": "C2"}], "ambiguous"),
    ],
)  # fmt: skip
def test_a_return_that_deliveries_do_not_bear_is_for_a_person(
    _case: str, deliveries: list[Any], code: str
) -> None:
    connector, http = sap(NOTHING, NOTHING, page(*deliveries))
    said = connector.restock(BACK)
    assert isinstance(said, Permanent)
    assert said.code == code
    assert http.is_drained


def test_a_return_over_other_units_is_told() -> None:
    other = paper(row(quantity=1), DocEntry=33, U_RefundflowId=KEY)
    said = sap(NOTHING, NOTHING, page(DELIVERED), answer(201, other))[0].restock(BACK)
    assert isinstance(said, Permanent)
    assert said.code == "units_mismatch"


CARRIED = replace(BACK, carried_by=KEY, is_return=False)


@pytest.mark.parametrize(
    ("_case", "answers", "kind", "code"),
    [
        ("by the cancel", [answer(200, paper(**GONE))], Done, ""),
        ("by the memo", [answer(200, paper()), page(MEMO)], Done, ""),
        ("not yet", [answer(200, paper()), NOTHING, NOTHING], Retryable, "not_there"),
        (
            "a memo without movement",
            [answer(200, paper()), page(paper(row(WithoutInventoryMovement="tYES"), U_RefundflowId=KEY))],
            Permanent,
            "not_restocked",
        ),
        (
            "a memo over fewer units",
            [answer(200, paper()), page(paper(row(quantity=1), U_RefundflowId=KEY))],
            Permanent,
            "not_restocked",
        ),
        (
            "a memo that was cancelled",
            [answer(200, paper()), page({**MEMO, **GONE}, {**MEMO, "CancelStatus": "csCancellation"})],
            Permanent,
            "cancelled",
        ),
    ],
)
def test_a_carried_restock_is_only_proven(_case: str, answers: list[Response], kind: type, code: str) -> None:
    connector, http = sap(*answers)
    said = connector.restock(CARRIED)
    assert type(said) is kind
    assert getattr(said, "code", "") == code
    assert all(request.method == "GET" for request in http.requests)


def test_a_restock_without_a_carrier_or_a_return_sends_nothing() -> None:
    connector, http = sap()
    plain = replace(BACK, is_return=False)
    assert isinstance(connector.restock(plain), Permanent)
    assert connector.find_restock(plain) == NotFound(0.0, "nothing is sent for it")
    assert http.requests == []


# ------------------------------------------------------------------------------------------------ our traces


def draft(status: str, **more: Any) -> dict[str, Any]:
    return {**MEMO, "DocEntry": 4, "DocObjectCode": "oCreditNotes", "AuthorizationStatus": status, **more}


@pytest.mark.parametrize(
    ("_case", "rows", "drafts", "kind", "code"),
    [
        ("there", [MEMO], None, Done, ""),
        ("another sum", [{**MEMO, "DocTotal": 20.0}], None, Permanent, "amount_mismatch"),
        ("another currency", [{**MEMO, "DocCurrency": "USD"}], None, Permanent, "amount_mismatch"),
        ("twice", [MEMO, {**MEMO, "DocEntry": 502}], None, Permanent, "found_twice"),
        ("undone", [{**MEMO, **GONE}], None, Permanent, "cancelled"),
        (
            "undone, with the copy that says tNO",
            [{**MEMO, **GONE}, {**MEMO, "DocEntry": 502, "CancelStatus": "csCancellation"}],
            None,
            Permanent,
            "cancelled",
        ),
        ("undone and written again", [{**MEMO, **GONE}, {**MEMO, "DocEntry": 502}], None, Done, ""),
        ("unreadable", [{"DocEntry": 501, "U_RefundflowId": KEY}], None, Unknown, ""),
        ("another step's", [{**MEMO, "U_RefundflowId": f"{KEY}0"}], [], NotFound, ""),
        ("in another case of letters", [{**MEMO, "U_RefundflowId": KEY.lower()}], [], NotFound, ""),
        ("nothing", [], [], NotFound, ""),
        ("pending", [], [draft("dasPending")], Pending, ""),
        ("approved, not posted", [], [draft("dasApproved")], Pending, ""),
        ("saved by hand", [], [draft("dasWithout")], Pending, ""),
        ("rejected", [], [draft("dasRejected")], Permanent, "approval_rejected"),
        (
            "rejected, then asked again",
            [],
            [draft("dasRejected"), draft("dasPending", DocEntry=5)],
            Pending,
            "",
        ),
        ("two drafts", [], [draft("dasPending"), draft("dasPending", DocEntry=5)], Permanent, "found_twice"),
        ("posted and not shown", [], [draft("dasGenerated")], Unknown, ""),
        ("a state that is new to us", [], [draft("dasX")], Unknown, ""),
        ("a draft of another kind", [], [draft("dasPending", DocObjectCode="oReturns")], NotFound, ""),
    ],
)
def test_a_credit_memo_is_found_by_our_mark(
    _case: str, rows: list[Any], drafts: list[Any] | None, kind: type, code: str
) -> None:
    connector, http = sap(page(*rows), *([] if drafts is None else [page(*drafts)]))
    found = connector.find_credit_note(NOTE)
    assert type(found) is kind
    assert getattr(found, "code", "") == code
    assert http.is_drained
    assert options(http.requests[0])["$filter"] == f"U_RefundflowId eq '{KEY}'"
    if isinstance(found, NotFound):
        assert (found.conclusive_after_s, found.conclusive_until_s) == (SETTLED_S, None)


@pytest.mark.parametrize(
    ("_case", "rows", "drafts", "kind", "code"),
    [
        ("there", [outgoing()], None, Done, ""),
        ("another sum", [outgoing(TransferSum=20.0)], None, Permanent, "amount_mismatch"),
        ("another currency", [outgoing(DocCurrency="USD")], None, Permanent, "amount_mismatch"),
        ("on another memo", [outgoing(PaymentInvoices=[{"DocEntry": 500, "InvoiceType": "it_CredItnote", "SumApplied": 27.5}])], None, Permanent, "wrong_note"),
        ("on an invoice of that number", [outgoing(PaymentInvoices=[{"DocEntry": 501, "InvoiceType": "it_Invoice", "SumApplied": 27.5}])], None, Permanent, "wrong_note"),
        ("on account in part", [outgoing(PaymentInvoices=[{"DocEntry": 501, "InvoiceType": "it_CredItnote", "SumApplied": 7.5}])], None, Permanent, "wrong_note"),
        ("undone", [outgoing(**GONE)], None, Permanent, "cancelled"),
        ("twice", [outgoing(), outgoing(DocEntry=10)], None, Permanent, "found_twice"),
        ("unreadable", [outgoing(TransferSum="27.50")], None, Unknown, ""),
        ("nothing", [], [], NotFound, ""),
        ("pending", [], [outgoing(AuthorizationStatus="pasPending")], Pending, ""),
        ("rejected", [], [outgoing(AuthorizationStatus="pasRejected")], Permanent, "approval_rejected"),
    ],
)  # fmt: skip
def test_a_payment_is_found_by_our_mark(
    _case: str, rows: list[Any], drafts: list[Any] | None, kind: type, code: str
) -> None:
    connector, http = sap(page(*rows), *([] if drafts is None else [page(*drafts)]))
    found = connector.find_record_refund(PAY)
    assert type(found) is kind
    assert getattr(found, "code", "") == code
    assert verbs(http) == ["GET /VendorPayments", "GET /PaymentDrafts"][: len(http.requests)]


def test_without_a_user_field_the_comments_and_the_payments_reference_do() -> None:
    company = Company(reference="")
    comments = {"Comments": f"refundflow {KEY} CN-1 for invoice 7001: x"}
    connector, http = sap(page({**MEMO, **comments}), company=company)
    assert isinstance(connector.find_credit_note(NOTE), Done)
    assert options(http.sent)["$filter"] == "NumAtCard eq '1042'"
    assert "U_" not in http.sent.path
    other = {**MEMO, "Comments": f"refundflow {KEY}0 CN-1"}
    assert isinstance(sap(page(other), NOTHING, company=company)[0].find_credit_note(NOTE), NotFound)
    short = "RF-00K3ZQ4M7ABCDEF.pl.1"
    connector, http = sap(page(outgoing(TransferReference=short)), company=company)
    assert isinstance(connector.find_record_refund(PAY), Done)
    assert options(http.sent)["$filter"] == f"TransferReference eq '{short}'"
    connector, http = sap(
        *(NOTHING, NOTHING, answer(200, MEMO), answer(201, outgoing(TransferReference=short))),
        company=company,
    )
    assert isinstance(connector.record_refund(PAY), Done)
    assert http.requests[-1].json["TransferReference"] == short
    assert "U_RefundflowId" not in http.requests[-1].json


def test_a_short_reference_fits_and_stays_single() -> None:
    keys = [f"RF-00K3ZQ4M7ABCDEF.{kind}.{n}" for kind in ("post_ledger", "restock") for n in (1, 11, 99_999)]
    short = [short_reference(key) for key in keys]
    assert len(set(short)) == len(keys)
    assert max(len(each) for each in short) <= 27


# ------------------------------------------------------------------------------------------------ invoices


def test_an_invoice_and_its_memos_say_what_is_due_paid_and_credited() -> None:
    based = paper(row(quantity=1, BaseType=13, BaseEntry=88, BaseLine=0), DocEntry=501)
    free = paper(row(quantity=1, price=2.5), DocEntry=502)
    others = [
        paper(row(BaseType=13, BaseEntry=99, BaseLine=0), DocEntry=503),
        paper(row(BaseType=16, BaseEntry=33, BaseLine=0), DocEntry=504),
        paper(DocEntry=505, **GONE),
        paper(DocEntry=506, CancelStatus="csCancellation"),
    ]
    connector, http = sap(page(PAID_INVOICE), page(based, free, *others))
    invoice = connector.read_invoice("#1042")
    assert isinstance(invoice, InvoiceFacts)
    assert (invoice.invoice_id, invoice.number, invoice.contact_id) == ("88", "1042", "C20000")
    assert (invoice.state, invoice.due, invoice.paid, invoice.credited) == (
        InvoiceState.PAID,
        eur(0),
        eur(1500),
        eur(1250),
    )
    assert options(http.requests[1])["$filter"] == "CardCode eq 'C20000' and NumAtCard eq '1042'"


@pytest.mark.parametrize(
    ("_case", "invoices", "kind", "state"),
    [
        ("none", [], NotFound, None),
        ("open", [OPEN_INVOICE], InvoiceFacts, InvoiceState.OPEN),
        ("paid", [PAID_INVOICE], InvoiceFacts, InvoiceState.PAID),
        ("two", [OPEN_INVOICE, {**OPEN_INVOICE, "DocEntry": 89}], Permanent, None),
        (
            "cancelled, with its cancellation",
            [{**OPEN_INVOICE, **GONE}, {**OPEN_INVOICE, "DocEntry": 89, "CancelStatus": "csCancellation"}],
            InvoiceFacts,
            InvoiceState.VOIDED,
        ),
        (
            "cancelled and written anew",
            [{**OPEN_INVOICE, **GONE}, {**OPEN_INVOICE, "DocEntry": 90}],
            InvoiceFacts,
            InvoiceState.OPEN,
        ),
    ],
)
def test_only_one_live_invoice_may_have_a_number(
    _case: str, invoices: list[Any], kind: type, state: InvoiceState | None
) -> None:
    said = sap(page(*invoices), always=NOTHING)[0].read_invoice("1042")
    assert isinstance(said, kind)
    assert getattr(said, "state", None) == state


def test_an_invoices_own_number_is_used_only_where_that_was_said() -> None:
    connector, http = sap(page(OPEN_INVOICE), NOTHING, company=Company(invoice_field="DocNum"))
    assert isinstance(connector.read_invoice("7001"), InvoiceFacts)
    assert options(http.requests[0])["$filter"] == "DocNum eq 7001"


@pytest.mark.parametrize(
    ("_case", "invoice", "kind", "code"),
    [
        ("cancelled", {**OPEN_INVOICE, **GONE}, AlreadyDone, ""),
        ("paid in part", {**OPEN_INVOICE, "PaidToDate": 0.01}, Permanent, "has_payments"),
        ("reserve", {**OPEN_INVOICE, "ReserveInvoice": "tYES"}, Permanent, "reserve_invoice"),
    ],
)
def test_an_invoice_that_cannot_be_voided_is_not_tried(
    _case: str, invoice: Any, kind: type, code: str
) -> None:
    connector, http = sap(answer(200, invoice))
    said = connector.void_invoice(VOID)
    assert type(said) is kind
    assert getattr(said, "code", "") == code
    assert http.is_drained


def test_a_void_is_believed_of_the_invoice_not_of_the_new_document() -> None:
    made = {**OPEN_INVOICE, "DocEntry": 90, "CancelStatus": "csCancellation"}
    connector, http = sap(answer(200, OPEN_INVOICE), answer(200, made), answer(200, {**OPEN_INVOICE, **GONE}))
    assert connector.void_invoice(VOID) == Done("88", "invoice 7001 is cancelled")
    assert verbs(http)[1] == "POST /Invoices(88)/CreateCancellationDocument"


# ------------------------------------------------------------------------------------------------ credit memos


def memo_body(command: CreditNote, invoice: dict[str, Any] = OPEN_INVOICE) -> dict[str, Any]:
    connector, http = sap(NOTHING, NOTHING, answer(200, invoice), answer(500))
    connector.credit_note(command)
    body: dict[str, Any] = http.requests[-1].json
    return body


def test_a_memo_is_drawn_from_the_invoices_lines() -> None:
    assert memo_body(NOTE) == {
        "CardCode": "C20000",
        "DocDate": "2026-11-23",
        "DocCurrency": "EUR",
        "NumAtCard": "1042",
        "Comments": f"refundflow {KEY} CN-RF-00K3ZQ4M7ABCDEF-1 for invoice 7001: Order #1042 cancelled",
        "U_RefundflowId": KEY,
        "DocumentLines": [
            {"BaseType": 13, "BaseEntry": 88, "BaseLine": 0, "Quantity": 2},
            {"BaseType": 13, "BaseEntry": 88, "BaseLine": 1, "Quantity": 3},
        ],
    }


def test_the_date_is_the_servers_day() -> None:
    company = company_of(replace(CREDENTIALS, time_zone="Pacific/Auckland"))
    connector, http = sap(NOTHING, NOTHING, answer(200, OPEN_INVOICE), answer(500), company=company)
    connector.credit_note(NOTE)
    assert http.requests[-1].json["DocDate"] == "2026-11-24"


def test_comments_fit_their_column() -> None:
    body = memo_body(replace(NOTE, memo="x" * 500))
    assert len(body["Comments"]) == 254
    assert KEY in body["Comments"].split()


def test_a_discount_on_the_whole_invoice_goes_with_the_memo() -> None:
    invoice = {**OPEN_INVOICE, "DiscountPercent": 10.0, "DocTotal": 24.75}
    body = memo_body(replace(NOTE, amount=eur(2475)), invoice)
    assert body["DiscountPercent"] == 10


@pytest.mark.parametrize(
    ("_case", "items", "restock", "minor", "rows"),
    [
        ("no movement", ALL, False, 2750, [(0, 2, True), (1, 3, True)]),
        ("some units", (ItemQuantity("A", 1), ItemQuantity("B", 2)), True, 1500, [(0, 1, False), (1, 2, False)]),
        ("one article", (ItemQuantity("B", 3),), True, 750, [(1, 3, False)]),
        ("all, of which some come back", (ItemQuantity("A", 1),), True, 2750, [(0, 1, False), (0, 1, True), (1, 3, True)]),
        ("all, and no units are known", (), False, 2750, [(0, 2, True), (1, 3, True)]),
    ],
)  # fmt: skip
def test_rows_are_the_units_and_what_comes_back(
    _case: str, items: Any, restock: bool, minor: int, rows: list[tuple[int, int, bool]]
) -> None:
    body = memo_body(replace(NOTE, items=items, restock=restock, amount=eur(minor)))
    sent = [
        (each["BaseLine"], each["Quantity"], each.get("WithoutInventoryMovement") == "tYES")
        for each in body["DocumentLines"]
    ]
    assert sent == rows


@pytest.mark.parametrize(
    ("_case", "changes", "invoice", "code"),
    [
        ("another sum", {"amount": eur(1000)}, {}, "amount_not_in_lines"),
        ("a cent off", {"amount": eur(2749)}, {}, "amount_not_in_lines"),
        ("more units than there are", {"items": (ItemQuantity("A", 3),), "amount": eur(3000)}, {}, "amount_not_in_lines"),
        ("freight on no line", {"amount": eur(3250)}, {"DocTotal": 32.5}, "amount_not_in_lines"),
        ("another currency", {"amount": Money(2750, "USD")}, {}, "currency_mismatch"),
        ("reserve", {}, {"ReserveInvoice": "tYES"}, "reserve_invoice"),
        ("cancelled", {}, GONE, "voided"),
        ("stock of unknown units", {"items": ()}, {}, "items_unknown"),
        ("credited whole", {}, {"DocumentLines": [row(RemainingOpenQuantity=0)]}, "amount_not_in_lines"),
    ],
)  # fmt: skip
def test_a_memo_that_lines_do_not_bear_is_for_a_person(
    _case: str, changes: dict[str, Any], invoice: dict[str, Any], code: str
) -> None:
    connector, http = sap(NOTHING, NOTHING, answer(200, {**OPEN_INVOICE, **invoice}))
    said = connector.credit_note(replace(NOTE, **changes))
    assert isinstance(said, Permanent)
    assert said.code == code
    assert http.is_drained


@pytest.mark.parametrize("tax", [{"TaxCode": "EX"}, {"TaxCode": None, "VatGroup": "A1"}])
def test_a_paid_invoice_that_is_refused_as_base_is_credited_without_after_a_look(tax: dict[str, Any]) -> None:
    invoice = {**PAID_INVOICE, "DocumentLines": [row(**tax), row(1, "B", 3, 2.5, **tax)]}
    connector, http = sap(
        *(NOTHING, NOTHING, answer(200, invoice), error(), NOTHING, NOTHING, answer(201, MEMO))
    )
    assert connector.credit_note(replace(NOTE, restock=False)) == Done("501", "credit memo 9001")
    assert verbs(http)[3:] == ["POST /CreditNotes", "GET /CreditNotes", "GET /Drafts", "POST /CreditNotes"]
    named = {name: code for name, code in tax.items() if code}
    assert http.requests[-1].json["DocumentLines"] == [
        {
            "ItemCode": sku,
            "Quantity": units,
            "UnitPrice": price,
            **named,
            "WarehouseCode": "01",
            "WithoutInventoryMovement": "tYES",
        }
        for sku, units, price in (("A", 2, 10), ("B", 3, Decimal("2.5")))
    ]


@pytest.mark.parametrize(
    ("_case", "after", "kind"),
    [
        ("a draft", [NOTHING, page(draft("dasPending"))], Pending),
        ("it is there", [page(MEMO)], AlreadyDone),
        ("no look", [answer(500, "")], Unknown),
        ("no connection for the look", [NotSentError("refused")], Unknown),
    ],
)
def test_the_form_without_base_waits_for_a_proven_absence(_case: str, after: list[Any], kind: type) -> None:
    connector, http = sap(NOTHING, NOTHING, answer(200, PAID_INVOICE), error(), *after)
    assert type(connector.credit_note(NOTE)) is kind
    assert len([r for r in http.requests if r.method == "POST"]) == 1


@pytest.mark.parametrize(
    ("_case", "invoice", "refused"),
    [
        ("the invoice is open", OPEN_INVOICE, error()),
        ("perhaps a draft", PAID_INVOICE, error("-2028")),
        ("a line without an article", {**PAID_INVOICE, "DocumentLines": [row(sku=""), row(1, "B", 3, 2.5)]}, error()),
    ],
)  # fmt: skip
def test_the_form_without_base_is_not_for_every_refusal(_case: str, invoice: Any, refused: Response) -> None:
    connector, http = sap(NOTHING, NOTHING, answer(200, invoice), refused, NOTHING, NOTHING)
    assert isinstance(connector.credit_note(NOTE), Permanent)
    assert len([r for r in http.requests if r.method == "POST"]) == 1


def test_both_forms_refused_is_a_no_with_both_reasons() -> None:
    connector, _ = sap(
        *(NOTHING, NOTHING, answer(200, PAID_INVOICE), error(text="base closed"), NOTHING, NOTHING),
        *(error("-10", text="period locked"), NOTHING, NOTHING),
    )
    said = connector.credit_note(NOTE)
    assert isinstance(said, Permanent)
    assert said.code == "-10"
    assert "period locked" in said.reason
    assert "base closed" in said.reason


def test_a_memo_over_another_sum_is_told() -> None:
    connector, _ = sap(NOTHING, NOTHING, answer(200, OPEN_INVOICE), answer(201, {**MEMO, "DocTotal": 27.0}))
    said = connector.credit_note(NOTE)
    assert isinstance(said, Permanent)
    assert said.code == "amount_mismatch"


def test_a_memo_that_cannot_be_read_is_unknown() -> None:
    connector, _ = sap(NOTHING, NOTHING, answer(200, OPEN_INVOICE), answer(201, {"DocEntry": 501}))
    assert isinstance(connector.credit_note(NOTE), Unknown)


# ------------------------------------------------------------------------------------------------ outgoing payments


def test_a_payment_is_sent_as_the_number_that_it_is() -> None:
    long = "gid://shopify/Refund/1234567890123"
    connector, http = sap(NOTHING, NOTHING, answer(200, MEMO), answer(201, outgoing()))
    assert connector.record_refund(replace(PAY, refund_reference=long)) == Done("9", "payment 109")
    assert http.requests[-1].json == {
        "DocType": "rCustomer",
        "CardCode": "C20000",
        "DocDate": "2026-11-23",
        "DocCurrency": "EUR",
        "TransferAccount": "161020",
        "TransferDate": "2026-11-23",
        "TransferSum": Decimal("27.50"),
        "TransferReference": long[-27:],
        "Remarks": f"refundflow {KEY} {long}",
        "U_RefundflowId": KEY,
        "PaymentInvoices": [
            {
                "DocEntry": 501,
                "InvoiceType": "it_CredItnote",
                "SumApplied": Decimal("27.50"),
                "InstallmentId": 1,
            }
        ],
    }


@pytest.mark.parametrize(
    ("_case", "changes", "memo", "code"),
    [
        ("no account", {"account_code": ""}, {}, "no_account"),
        ("cancelled", {}, GONE, "voided"),
        ("settled by the invoice", {}, {"PaidToDate": 27.5}, "nothing_left"),
        ("settled in part", {}, {"PaidToDate": 0.01}, "nothing_left"),
        ("another currency", {"amount": Money(2750, "USD")}, {}, "currency_mismatch"),
        (
            "a foreign currency",
            {"amount": Money(3000, "USD")},
            {
                "DocCurrency": "USD",
                "DocRate": 0.9,
                "DocTotalFc": 30.0,
                "DocumentLines": [row(RowTotalFC=30.0)],
            },
            "foreign_currency",
        ),
    ],
)
def test_a_payment_that_the_memo_does_not_bear_is_for_a_person(
    _case: str, changes: dict[str, Any], memo: dict[str, Any], code: str
) -> None:
    connector, http = sap(NOTHING, NOTHING, answer(200, {**MEMO, **memo}))
    said = connector.record_refund(replace(PAY, **changes))
    assert isinstance(said, Permanent)
    assert said.code == code
    assert http.is_drained


# ------------------------------------------------------------------------------------------------ health, polling, inbound


@pytest.mark.parametrize(
    ("response", "is_ok", "word"),
    [
        (page(), True, "U_RefundflowId"),
        (error("-1000", text="no property"), False, "U_RefundflowId set up"),
        (error("301", 401), False, "session"),
        (answer(200, "<html>"), False, "200"),
        (answer(503, ""), False, "503"),
    ],
)
def test_a_check_is_one_small_read(response: Response, is_ok: bool, word: str) -> None:
    connector, http = sap(response)
    health = connector.check()
    assert isinstance(health, Health)
    assert health.is_ok is is_ok
    assert word in health.detail
    assert http.sent.path == "/CreditNotes?$top=1&$select=DocEntry,U_RefundflowId"


@pytest.mark.parametrize(
    ("cursor", "day", "skip"),
    [
        ("", "2026-11-22", 0),
        ("2026-11-01", "2026-11-01", 0),
        ("2026-11-01+300", "2026-11-01", 300),
        ("2026-13-01", "2026-11-22", 0),
        ("x' or 1 eq 1", "2026-11-22", 0),
    ],
)
def test_a_cursor_is_a_day_and_a_place(cursor: str, day: str, skip: int) -> None:
    place = read_cursor(cursor, date(2026, 11, 23))
    assert (place.day.isoformat(), place.skip) == (day, skip)


def test_news_are_asked_for_in_an_order_that_does_not_lose_any() -> None:
    news = page({"DocEntry": 123, "NumAtCard": "1042"}, {"DocEntry": 124, "NumAtCard": None})
    connector, http = sap(news)
    looked = connector.poll("2026-11-01+100", NOW)
    assert isinstance(looked, Polled)
    assert options(http.sent) == {
        "$select": "DocEntry,NumAtCard,UpdateDate,UpdateTime",
        "$filter": "Cancelled eq 'tYES' and UpdateDate ge '2026-11-01'",
        "$orderby": "DocEntry",
        "$skip": "100",
    }
    assert [event.source_event_id for event in looked.events] == ["cancelled:123", "cancelled:124"]
    assert (looked.cursor, looked.has_more) == ("2026-11-22", False)


def test_an_empty_page_ends_a_look_whatever_its_link_says() -> None:
    looked = sap(page(**{"@odata.nextLink": "Orders?$skip=1"}))[0].poll("", NOW)
    assert looked == Polled((), "2026-11-22")


def test_a_cursor_never_goes_back() -> None:
    looked = sap(page())[0].poll("2026-11-23", NOW)
    assert looked == Polled((), "2026-11-23")


@pytest.mark.parametrize("bad", [7, {"DocEntry": "123"}, {"DocEntry": 0}, {}])
def test_news_that_cannot_be_read_are_not_skipped(bad: Any) -> None:
    assert isinstance(sap(page(bad))[0].poll("", NOW), Unknown)


def test_deliveries_from_outside_are_always_refused() -> None:
    inbound = SapInbound()
    for body in (b"", b'{"DocEntry": 123, "number": "1042"}'):
        for headers in ({}, {"authorization": "Basic x", "x-signature": "x"}):
            assert isinstance(inbound.verify(Delivery(headers, body), NOW), Refused)


def test_what_was_polled_is_read() -> None:
    read = SapInbound().read_event(TOPIC, b'{"DocEntry": 123, "number": "1042"}')
    assert read == OrderCancelledElsewhere(OrderRef("sap-business-one", "123", "1042"))
    assert isinstance(SapInbound().read_event("orders/closed", b"{}"), Irrelevant)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "DocEntry"),
        (b"[]", "DocEntry"),
        (b'{"DocEntry": "123", "number": ""}', "DocEntry"),
        (b'{"DocEntry": 0, "number": ""}', "DocEntry"),
        (b'{"DocEntry": 123}', "number"),
    ],
)
def test_a_polled_order_that_cannot_be_read_is_told(body: bytes, field: str) -> None:
    with pytest.raises(MalformedError) as raised:
        SapInbound().read_event(TOPIC, body)
    assert raised.value.field == field
