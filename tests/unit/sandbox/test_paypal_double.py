"""The practice PayPal is as strict as the real one, and its book holds exactly what happened."""

from __future__ import annotations

import base64
import json
import threading
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from refundflow.sandbox.base import (
    Answer,
    Call,
    Cut,
    Fault,
    Kind,
    NoSuchObjectError,
    Subscription,
    World,
)
from refundflow.sandbox.paypal import CLIENT_ID, CLIENT_SECRET, PayPal, signed_message
from tests.support.specs import check_document, check_response, load, specs

ORDER, CAPTURE = "5O190127TN364715T", "2GG279541U471931P"
WHOLE = {"Prefer": "return=representation"}
HOOK = "4JH86294D6297924G"


class Shop:
    """A practice PayPal with one captured order of 42.50 USD, a token, and a clock that tests can move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.world = World([PayPal], clock=lambda: self.now, send=self.receive)
        self.vendor = cast(PayPal, self.world.vendor("paypal"))
        self.deliveries: list[tuple[str, dict[str, str], bytes]] = []
        self.seed(
            id=ORDER,
            number="1042",
            custom_id="shop-1042",
            lines=[{"sku": "MUG", "title": "Mug", "quantity": 2, "unit_minor": 1875}],
            shipping_minor=500,
            payments=[{"capture_id": CAPTURE}],
        )
        self.token = self.sign_in()

    def receive(self, url: str, headers: Any, body: bytes) -> int:
        self.deliveries.append((url, dict(headers), body))
        return 200

    def seed(self, **order: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.world.seed({"paypal": {"orders": [order]}})["paypal"]["orders"][0]
        return made

    def set(self, **settings: Any) -> None:
        self.world.seed({"paypal": {"settings": settings}})

    def settle(self, **data: Any) -> dict[str, Any]:
        return self.world.settle("paypal", data)[0]

    def fault(self, kind: Kind, operation: str = "refund_capture", **more: Any) -> None:
        self.world.faults.add(Fault(kind, "paypal", operation, **more))

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        path, _, query = path.partition("?")
        sent = {"authorization": f"Bearer {self.token}", **{k.lower(): v for k, v in headers.items()}}
        answer = self.world.receive("paypal", Call(method, path, query, sent, body))
        assert isinstance(answer, Answer)
        return answer

    def ask_token(self, id: str = CLIENT_ID, secret: str = CLIENT_SECRET, **form: str) -> Answer:
        basic = base64.b64encode(f"{id}:{secret}".encode()).decode()
        headers = {
            "authorization": f"Basic {basic}",
            "content-type": "application/x-www-form-urlencoded",
        }
        body = urlencode(form or {"grant_type": "client_credentials"}).encode()
        answer = self.world.receive("paypal", Call("POST", "/v1/oauth2/token", "", headers, body))
        assert isinstance(answer, Answer)
        return answer

    def sign_in(self) -> str:
        return str(self.ask_token().body["access_token"])

    def get(self, path: str, **query: Any) -> Answer:
        return self.call("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        sent = b"" if body is None else json.dumps(body).encode()
        return self.call("POST", path, sent, **{"Content-Type": "application/json", **headers})

    def refund(
        self,
        value: Any = None,
        key: str | None = None,
        *,
        capture: str = CAPTURE,
        currency: str = "USD",
        prefer: str = "return=representation",
        **body: Any,
    ) -> Answer:
        headers = {"Prefer": prefer} | ({"PayPal-Request-Id": key} if key else {})
        amount = {} if value is None else {"amount": {"currency_code": currency, "value": value}}
        return self.post(f"/v2/payments/captures/{capture}/refund", {**amount, **body}, **headers)

    @property
    def book(self) -> list[dict[str, Any]]:
        return self.vendor.book.lines()

    @property
    def effects(self) -> list[tuple[str, int]]:
        return [(line["effect"], line["amount_minor"]) for line in self.book]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.world.close()


def issue_of(answer: Answer) -> tuple[int, str | None]:
    return answer.status, next((each["issue"] for each in answer.body.get("details", [])), None)


# ---------------------------------------------------------------- tokens


def test_a_token_is_given_for_client_credentials_and_lasts_nine_hours(shop: Shop) -> None:
    given = shop.ask_token().body
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 32_400)
    assert "https://uri.paypal.com/services/payments/refund" in given["scope"].split()

    shop.now += timedelta(seconds=32_399)
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").status == 200
    shop.now += timedelta(seconds=1)
    refused = shop.get(f"/v2/payments/captures/{CAPTURE}")
    assert (refused.status, refused.body["name"]) == (401, "AUTHENTICATION_FAILURE")
    shop.token = shop.sign_in()
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").status == 200


@pytest.mark.parametrize(
    ("_case", "asked", "wanted"),
    [
        ("another client", {"id": "somebody"}, (401, "invalid_client")),
        ("a wrong secret", {"secret": "guess"}, (401, "invalid_client")),
        ("another grant", {"grant_type": "password"}, (400, "unsupported_grant_type")),
    ],
)
def test_the_token_endpoint_refuses_in_the_manner_of_oauth(
    shop: Shop, _case: str, asked: dict[str, str], wanted: tuple[int, str]
) -> None:
    answer = shop.ask_token(**asked)
    assert (answer.status, answer.body["error"]) == wanted
    assert set(answer.body) == {"error", "error_description"}


def test_a_call_without_a_living_token_does_nothing(shop: Shop) -> None:
    shop.settle(token="expired")
    answers = [shop.refund("1.00"), shop.get("/v2/payments/refunds/X")]
    shop.token = "A21AAmade-up"
    answers.append(shop.refund("1.00"))
    assert [each.status for each in answers] == [401, 401, 401]
    assert shop.book == []


def test_a_scope_added_later_is_only_in_tokens_issued_afterwards(shop: Shop) -> None:
    shop.set(scopes=["payments/payment/authcapture"])
    old, shop.token = shop.token, shop.sign_in()
    assert issue_of(shop.refund("1.00")) == (403, "PERMISSION_DENIED")
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").status == 200
    shop.token = old
    assert shop.refund("1.00").status == 201


# ---------------------------------------------------------------- refunds


def test_a_refund_is_written_to_the_book_with_amount_reference_and_key(shop: Shop) -> None:
    answer = shop.refund("10.00", "key-1", custom_id="rf_1", invoice_id="RF-1042-1", note_to_payer="Sorry")

    shown = answer.body
    assert (answer.status, shown["status"], shown["amount"]) == (
        201,
        "COMPLETED",
        {"currency_code": "USD", "value": "10.00"},
    )
    assert (shown["custom_id"], shown["invoice_id"], shown["note_to_payer"]) == ("rf_1", "RF-1042-1", "Sorry")
    breakdown = {name: each["value"] for name, each in shown["seller_payable_breakdown"].items()}
    assert breakdown == {
        "gross_amount": "10.00",
        "paypal_fee": "0.29",
        "net_amount": "9.71",
        "total_refunded_amount": "10.00",
    }
    assert answer.headers["Paypal-Debug-Id"]
    assert shop.book == [
        {
            "at": "2026-11-23T12:00:00+00:00",
            "vendor": "paypal",
            "effect": "refund",
            "id": shown["id"],
            "amount_minor": 1000,
            "currency": "USD",
            "target": {"order": ORDER, "number": "1042", "capture": CAPTURE},
            "reference": "rf_1",
            "idempotency_key": "key-1",
            "invoice_id": "RF-1042-1",
            "by": "api",
        }
    ]


def test_the_minimal_answer_holds_no_amount(shop: Shop) -> None:
    for prefer in ("return=minimal", ""):
        assert set(shop.refund("1.00", prefer=prefer).body) == {"id", "status", "links"}


def test_the_capture_shows_how_much_went_back_and_the_order_lists_the_refunds(shop: Shop) -> None:
    path = f"/v2/payments/captures/{CAPTURE}"
    statuses = [shop.get(path).body["status"]]
    ids = [shop.refund("2.50", custom_id="rf_1").body["id"]]
    statuses.append(shop.get(path).body["status"])
    ids.append(shop.refund().body["id"])
    statuses.append(shop.get(path).body["status"])

    assert statuses == ["COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"]
    assert "refunds" not in shop.get(path).body
    unit = shop.get(f"/v2/checkout/orders/{ORDER}").body["purchase_units"][0]
    assert unit["invoice_id"] == "1042"
    assert [each["id"] for each in unit["payments"]["captures"]] == [CAPTURE]
    assert [
        (each["id"], each.get("custom_id"), each["amount"]["value"]) for each in unit["payments"]["refunds"]
    ] == [
        (ids[0], "rf_1", "2.50"),
        (ids[1], None, "40.00"),
    ]
    assert shop.effects == [("refund", 250), ("refund", 4000)]
    assert issue_of(shop.refund()) == (422, "CAPTURE_FULLY_REFUNDED")
    assert issue_of(shop.refund("1.00")) == (422, "CAPTURE_FULLY_REFUNDED")


def test_a_misspelt_amount_is_ignored_and_everything_goes_back(shop: Shop) -> None:
    assert shop.refund(ammount={"currency_code": "USD", "value": "1.00"}).status == 201
    assert shop.effects == [("refund", 4250)]


def test_an_empty_body_refunds_what_is_left(shop: Shop) -> None:
    assert shop.post(f"/v2/payments/captures/{CAPTURE}/refund").status == 201
    assert shop.effects == [("refund", 4250)]


@pytest.mark.parametrize(
    ("_case", "amount", "wanted"),
    [
        ("more than is left", {"currency_code": "USD", "value": "42.51"}, (422, "REFUND_AMOUNT_EXCEEDED")),
        ("nothing", {"currency_code": "USD", "value": "0.00"}, (422, "CANNOT_BE_ZERO_OR_NEGATIVE")),
        (
            "less than nothing",
            {"currency_code": "USD", "value": "-1.00"},
            (422, "CANNOT_BE_ZERO_OR_NEGATIVE"),
        ),
        ("too many decimals", {"currency_code": "USD", "value": "1.001"}, (422, "DECIMAL_PRECISION")),
        ("one decimal", {"currency_code": "USD", "value": "1.5"}, (422, "DECIMAL_PRECISION")),
        ("no decimals", {"currency_code": "USD", "value": "1"}, (422, "DECIMAL_PRECISION")),
        (
            "another currency",
            {"currency_code": "EUR", "value": "1.00"},
            (422, "REFUND_CAPTURE_CURRENCY_MISMATCH"),
        ),
        ("no currency", {"currency_code": "XXX", "value": "1.00"}, (422, "INVALID_CURRENCY_CODE")),
        ("a small currency", {"currency_code": "usd", "value": "1.00"}, (422, "INVALID_CURRENCY_CODE")),
        ("a long currency", {"currency_code": "USDT", "value": "1.00"}, (400, "INVALID_STRING_LENGTH")),
        ("decimals of the yen", {"currency_code": "JPY", "value": "1.00"}, (422, "DECIMALS_NOT_SUPPORTED")),
        (
            "decimals of the forint",
            {"currency_code": "HUF", "value": "1.00"},
            (422, "DECIMALS_NOT_SUPPORTED"),
        ),
        ("a number", {"currency_code": "USD", "value": 1.0}, (400, "INVALID_PARAMETER_SYNTAX")),
        ("no number", {"currency_code": "USD", "value": "1,00"}, (400, "INVALID_PARAMETER_SYNTAX")),
        ("without a value", {"currency_code": "USD"}, (400, "MISSING_REQUIRED_PARAMETER")),
        ("without a currency", {"value": "1.00"}, (400, "MISSING_REQUIRED_PARAMETER")),
        ("a bare text", "1.00", (400, "INVALID_PARAMETER_SYNTAX")),
        ("null", None, (400, "INVALID_PARAMETER_SYNTAX")),
    ],
)
def test_an_amount_that_paypal_would_refuse_is_refused_and_pays_nothing(
    shop: Shop, _case: str, amount: Any, wanted: tuple[int, str]
) -> None:
    assert issue_of(shop.refund(amount=amount)) == wanted
    assert shop.book == []


@pytest.mark.parametrize(
    ("_case", "body", "wanted"),
    [
        ("a long custom_id", {"custom_id": "x" * 128}, (400, "INVALID_STRING_LENGTH")),
        ("an empty invoice_id", {"invoice_id": ""}, (400, "INVALID_STRING_LENGTH")),
        ("a long note", {"note_to_payer": "x" * 256}, (400, "INVALID_STRING_LENGTH")),
        ("a custom_id that is a number", {"custom_id": 1}, (400, "INVALID_PARAMETER_SYNTAX")),
        (
            "a platform fee",
            {"payment_instruction": {"platform_fees": [{"amount": {}}]}},
            (422, "PLATFORM_FEE_NOT_ENABLED"),
        ),
    ],
)
def test_a_body_that_paypal_would_refuse_is_refused_and_pays_nothing(
    shop: Shop, _case: str, body: dict[str, Any], wanted: tuple[int, str]
) -> None:
    assert issue_of(shop.refund("1.00", **body)) == wanted
    assert shop.book == []


def test_bodies_that_are_not_json_and_paths_that_do_not_exist_are_refused(shop: Shop) -> None:
    path = f"/v2/payments/captures/{CAPTURE}/refund"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answers = [
        shop.call("POST", path, b"amount=1.00", **form),
        shop.call("POST", path, b"{", **{"Content-Type": "application/json"}),
        shop.post(path, ["1.00"]),
        shop.post("/v2/payments/refunds", {"capture_id": CAPTURE}),
        shop.refund("1.00", capture=ORDER),
    ]
    assert [each.status for each in answers] == [415, 400, 400, 404, 404]
    assert issue_of(answers[-1]) == (404, "INVALID_RESOURCE_ID")
    assert shop.book == []


@pytest.mark.parametrize(
    ("currency", "minor", "value"), [("JPY", 4250, "4250"), ("HUF", 425_000, "4250"), ("EUR", 4250, "42.50")]
)
def test_each_currency_is_written_with_its_own_decimals(
    shop: Shop, currency: str, minor: int, value: str
) -> None:
    made = shop.seed(currency=currency, amount_minor=minor)
    capture = made["payments"][0]["capture_id"]
    assert shop.get(f"/v2/payments/captures/{capture}").body["amount"]["value"] == value
    assert shop.refund(value, capture=capture, currency=currency).body["amount"]["value"] == value
    assert [(line["amount_minor"], line["currency"]) for line in shop.book] == [(minor, currency)]


def test_a_seed_cannot_hold_what_paypal_could_not_write(shop: Shop) -> None:
    for order in (
        {"currency": "HUF", "amount_minor": 4250},
        {"currency": "XXX", "amount_minor": 4250},
        {"amount_minor": 42.5},
        {},
        {"amount_minor": 10, "payments": [{"colour": "red"}]},
        {"amount_minor": 10, "payments": [{"refunds": [{"amount_minor": 11}]}]},
    ):
        with pytest.raises(ValueError, match=r"."):
            shop.seed(**order)


def test_laxer_decimals_can_be_chosen(shop: Shop) -> None:
    shop.set(is_decimals_exact=False)
    shop.refund("1.5")
    shop.refund("2")
    assert shop.effects == [("refund", 150), ("refund", 200)]


def test_an_invoice_id_is_used_once_over_all_captures(shop: Shop) -> None:
    other = shop.seed(amount_minor=900)["payments"][0]["capture_id"]
    shop.refund("1.00", invoice_id="RF-1")
    assert issue_of(shop.refund("1.00", invoice_id="RF-1")) == (422, "DUPLICATE_INVOICE_ID")
    assert issue_of(shop.refund("1.00", capture=other, invoice_id="RF-1")) == (422, "DUPLICATE_INVOICE_ID")
    assert shop.refund("1.00", invoice_id="RF-2").status == 201
    assert shop.effects == [("refund", 100), ("refund", 100)]


def test_the_refund_window_closes_after_180_days(shop: Shop) -> None:
    shop.now += timedelta(days=180)
    shop.token = shop.sign_in()
    assert shop.refund("1.00").status == 201
    shop.now += timedelta(seconds=1)
    assert issue_of(shop.refund("1.00")) == (422, "REFUND_TIME_LIMIT_EXCEEDED")
    shop.set(refund_window_days=365)
    assert shop.refund("1.00").status == 201


@pytest.mark.parametrize(
    ("status", "issue"),
    [("PENDING", "PENDING_CAPTURE"), ("DECLINED", "REFUND_NOT_ALLOWED"), ("FAILED", "REFUND_NOT_ALLOWED")],
)
def test_only_a_completed_capture_is_refunded(shop: Shop, status: str, issue: str) -> None:
    made = shop.seed(amount_minor=900, payments=[{"status": status, "reason": "PENDING_REVIEW"}])
    capture = made["payments"][0]["capture_id"]
    assert issue_of(shop.refund("1.00", capture=capture)) == (422, issue)
    shown = shop.get(f"/v2/payments/captures/{capture}").body
    assert (shown["status"], "status_details" in shown) == (status, status == "PENDING")
    assert shop.book == []


def test_a_pending_capture_that_completes_can_be_refunded(shop: Shop) -> None:
    made = shop.seed(amount_minor=900, payments=[{"status": "PENDING"}])
    capture = made["payments"][0]["capture_id"]
    shop.settle(capture=capture, status="COMPLETED")
    assert shop.refund("9.00", capture=capture).status == 201
    with pytest.raises(ValueError, match="stays so"):
        shop.settle(capture=capture, status="DECLINED")


def test_too_little_balance_refuses_until_there_is_enough(shop: Shop) -> None:
    shop.settle(balance_minor={"USD": 500})
    assert issue_of(shop.refund("5.01", "key-1")) == (422, "REFUND_FAILED_INSUFFICIENT_FUNDS")
    shop.settle(balance_minor={"USD": 501})
    assert shop.refund("5.01", "key-1").status == 201
    assert issue_of(shop.refund("0.01")) == (422, "REFUND_FAILED_INSUFFICIENT_FUNDS")
    assert shop.effects == [("refund", 501)]


def test_a_capture_can_be_marked_as_not_refundable_or_only_in_full(shop: Shop) -> None:
    shop.settle(capture=CAPTURE, refund_issue="REFUND_IS_RESTRICTED")
    assert issue_of(shop.refund("1.00")) == (422, "REFUND_IS_RESTRICTED")
    shop.settle(capture=CAPTURE, refund_issue="PARTIAL_REFUND_NOT_ALLOWED")
    assert issue_of(shop.refund("1.00")) == (422, "PARTIAL_REFUND_NOT_ALLOWED")
    assert shop.refund("42.50").status == 201


def test_the_number_of_refunds_can_be_limited(shop: Shop) -> None:
    shop.set(max_refunds=1)
    shop.refund("1.00")
    assert issue_of(shop.refund("1.00")) == (422, "MAX_NUMBER_OF_REFUNDS_EXCEEDED")


def test_a_mock_header_forces_an_error_and_pays_nothing(shop: Shop) -> None:
    headers = {"PayPal-Mock-Response": json.dumps({"mock_application_codes": "CAPTURE_FULLY_REFUNDED"})}
    path = f"/v2/payments/captures/{CAPTURE}/refund"
    assert issue_of(shop.post(path, {}, **headers)) == (422, "CAPTURE_FULLY_REFUNDED")
    assert shop.book == []
    shop.set(has_negative_testing=False)
    assert shop.post(path, {}, **headers).status == 201


# ---------------------------------------------------------------- request ids


def test_the_same_request_id_pays_once_and_says_so_again(shop: Shop) -> None:
    first, second = shop.refund("10.00", "key-1"), shop.refund("10.00", "key-1")
    assert (first.status, second.status) == (201, 200)
    assert second.body == first.body
    assert shop.effects == [("refund", 1000)]
    shop.set(replay_status=201)
    assert shop.refund("10.00", "key-1").status == 201


def test_a_repetition_shows_the_present_state_of_the_first_refund(shop: Shop) -> None:
    shop.fault(Kind.SLOW_PENDING)
    first = shop.refund("10.00", "key-1").body
    assert (first["status"], first["status_details"]) == ("PENDING", {"reason": "ECHECK"})
    shop.settle(refund=first["id"], status="COMPLETED")
    assert shop.refund("10.00", "key-1").body["status"] == "COMPLETED"
    shop.settle(refund=first["id"], status="FAILED")
    minimal = shop.refund("10.00", "key-1", prefer="return=minimal").body
    assert (minimal["id"], minimal["status"]) == (first["id"], "FAILED")


def test_another_body_under_a_used_request_id_is_not_noticed_unless_chosen(shop: Shop) -> None:
    first = shop.refund("10.00", "key-1").body
    again = shop.refund("20.00", "key-1").body
    assert (again["id"], again["amount"]["value"]) == (first["id"], "10.00")
    shop.set(is_other_body_refused=True)
    assert issue_of(shop.refund("20.00", "key-1")) == (422, "PAYPAL_REQUEST_ID_PREVIOUSLY_USED")
    assert shop.refund("10.00", "key-1").status == 200
    assert shop.effects == [("refund", 1000)]


def test_a_request_id_is_forgotten_after_45_days_and_then_pays_again(shop: Shop) -> None:
    shop.refund("10.00", "key-1")
    shop.now += timedelta(days=45, seconds=-1)
    shop.token = shop.sign_in()
    assert shop.refund("10.00", "key-1").status == 200
    shop.now += timedelta(seconds=1)
    assert shop.refund("10.00", "key-1").status == 201
    assert shop.effects == [("refund", 1000), ("refund", 1000)]


def test_without_a_request_id_every_post_is_a_new_refund(shop: Shop) -> None:
    shop.refund("10.00")
    shop.refund("10.00")
    assert shop.effects == [("refund", 1000), ("refund", 1000)]


def test_a_refused_call_leaves_its_request_id_free(shop: Shop) -> None:
    assert issue_of(shop.refund("42.51", "key-1")) == (422, "REFUND_AMOUNT_EXCEEDED")
    assert shop.refund("42.50", "key-1").status == 201


def test_a_request_id_that_is_too_long_is_refused(shop: Shop) -> None:
    assert issue_of(shop.refund("1.00", "x" * 109)) == (400, "INVALID_STRING_LENGTH")
    assert shop.refund("1.00", "x" * 108).status == 201


def test_a_second_call_while_the_first_runs_is_a_conflict(shop: Shop) -> None:
    # The first call waits until the world stops, so the second one always meets it.
    shop.fault(Kind.LATENCY, latency_s=60)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(shop.refund("10.00", "key-1")))
    thread.start()
    while not shop.vendor._keys:
        shop.world.stopping.wait(0.01)
    second = shop.refund("10.00", "key-1")
    shop.world.stopping.set()
    thread.join()
    assert issue_of(second) == (409, "PREVIOUS_REQUEST_IN_PROGRESS")
    assert second.body["name"] == "RESOURCE_CONFLICT"
    assert [each.status for each in answers] == [201]
    assert shop.effects == [("refund", 1000)]


def test_request_ids_of_refunds_and_voids_are_apart(shop: Shop) -> None:
    made = shop.seed(amount_minor=900, payments=[{"status": "AUTHORISED"}])["payments"][0]
    shop.refund("1.00", "key-1")
    path = f"/v2/payments/authorizations/{made['authorization_id']}/void"
    assert shop.post(path, **{"PayPal-Request-Id": "key-1"}).status == 204
    assert shop.effects == [("refund", 100), ("void", 900)]


# ---------------------------------------------------------------- faults


def test_a_lost_reply_is_found_again_with_the_same_request_id(shop: Shop) -> None:
    shop.fault(Kind.LOST_REPLY)
    call = Call(
        "POST",
        f"/v2/payments/captures/{CAPTURE}/refund",
        "",
        {
            "authorization": f"Bearer {shop.token}",
            "content-type": "application/json",
            "paypal-request-id": "key-1",
        },
        b"{}",
    )
    assert isinstance(shop.world.receive("paypal", call), Cut)
    assert shop.refund(None, "key-1").status == 200
    assert shop.effects == [("refund", 4250)]


@pytest.mark.parametrize(
    ("status", "is_after_effect", "wanted"),
    [(500, False, 201), (500, True, 200), (503, False, 201), (503, True, 200), (429, False, 201)],
)
def test_after_a_bad_status_the_same_request_id_pays_exactly_once(
    shop: Shop, status: int, is_after_effect: bool, wanted: int
) -> None:
    shop.fault(Kind.STATUS, status=status, is_after_effect=is_after_effect)
    assert shop.refund("10.00", "key-1").status == status
    assert shop.refund("10.00", "key-1").status == wanted
    assert shop.effects == [("refund", 1000)]


def test_a_bad_status_on_a_repetition_pays_nothing_more(shop: Shop) -> None:
    shop.refund("10.00", "key-1")
    shop.fault(Kind.STATUS, status=502, is_after_effect=True)
    assert shop.refund("10.00", "key-1").status == 502
    assert shop.effects == [("refund", 1000)]


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (429, "RATE_LIMIT_REACHED"),
        (500, "INTERNAL_SERVER_ERROR"),
        (503, "SERVICE_UNAVAILABLE"),
        (409, "RESOURCE_CONFLICT"),
    ],
)
def test_a_bad_status_comes_in_paypals_own_shape(shop: Shop, status: int, name: str) -> None:
    shop.fault(Kind.STATUS, status=status)
    answer = shop.refund("10.00")
    assert (answer.status, answer.body["name"]) == (status, name)
    assert answer.body["debug_id"] == answer.headers["Paypal-Debug-Id"]
    assert shop.book == []


@pytest.mark.parametrize(
    ("_case", "operation", "code", "wanted"),
    [
        ("the usual no", "refund_capture", "", (422, "REFUND_NOT_ALLOWED")),
        ("a named one", "refund_capture", "PAYEE_ACCOUNT_RESTRICTED", (422, "PAYEE_ACCOUNT_RESTRICTED")),
        ("not there", "get_capture", "", (404, "INVALID_RESOURCE_ID")),
    ],
)
def test_a_refusal_can_be_asked_for(
    shop: Shop, _case: str, operation: str, code: str, wanted: tuple[int, str]
) -> None:
    shop.fault(Kind.REFUSE, operation, code=code)
    answer = (
        shop.refund("1.00") if operation == "refund_capture" else shop.get(f"/v2/payments/captures/{CAPTURE}")
    )
    assert issue_of(answer) == wanted
    assert shop.book == []


def test_refused_credentials_can_be_asked_for(shop: Shop) -> None:
    shop.fault(Kind.REFUSE_AUTH)
    assert issue_of(shop.refund("1.00")) == (401, None)
    shop.fault(Kind.REFUSE_AUTH, code="INVALID_ACCOUNT_STATUS")
    assert issue_of(shop.refund("1.00")) == (401, "INVALID_ACCOUNT_STATUS")
    shop.fault(Kind.REFUSE_AUTH, "token")
    assert shop.ask_token().body["error"] == "invalid_client"
    shop.fault(Kind.REFUSE, "token")
    assert (shop.ask_token().status, shop.book) == (401, [])


def test_a_pending_refund_counts_as_refunded_and_can_fail_or_be_cancelled(shop: Shop) -> None:
    shop.settle(balance_minor={"USD": 5000})
    shop.fault(Kind.SLOW_PENDING, times=3)
    first = shop.refund("42.50").body["id"]
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").body["status"] == "REFUNDED"
    assert issue_of(shop.refund("1.00")) == (422, "CAPTURE_FULLY_REFUNDED")
    shop.settle(refund=first, status="FAILED")
    second = shop.refund("42.50").body["id"]
    assert shop.settle(refund=second, status="CANCELLED")["status"] == "CANCELLED"
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").body["status"] == "COMPLETED"
    with pytest.raises(ValueError, match="does not go from CANCELLED to COMPLETED"):
        shop.settle(refund=second, status="COMPLETED")
    assert shop.effects == [
        ("refund", 4250),
        ("refund_failed", 4250),
        ("refund", 4250),
        ("refund_canceled", 4250),
    ]
    assert shop.vendor.balance == {"USD": 5000}


def test_a_refund_marked_to_fail_late_fails_when_told(shop: Shop) -> None:
    shop.fault(Kind.LATE_FAILURE)
    refund = shop.refund("10.00", custom_id="rf_1").body
    assert refund["status"] == "COMPLETED"
    assert [each["status"] for each in shop.world.settle("paypal", {})] == ["FAILED"]
    assert shop.get(f"/v2/payments/refunds/{refund['id']}").body["status"] == "FAILED"
    assert [(line["effect"], line["reference"]) for line in shop.book] == [
        ("refund", "rf_1"),
        ("refund_failed", "rf_1"),
    ]
    assert shop.world.settle("paypal", {}) == []


def test_a_refund_made_by_hand_is_seen_in_the_order_and_in_the_book(shop: Shop) -> None:
    made = shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 4250})
    unit = shop.get(f"/v2/checkout/orders/{ORDER}").body["purchase_units"][0]
    assert [each["id"] for each in unit["payments"]["refunds"]] == [made["id"]]
    assert [(line["by"], line["reference"]) for line in shop.book] == [("dashboard", None)]
    with pytest.raises(ValueError, match="more than is left"):
        shop.settle(capture=CAPTURE, dashboard_refund={"amount_minor": 1})


def test_history_is_not_in_the_book(shop: Shop) -> None:
    made = shop.seed(
        amount_minor=900,
        payments=[
            {"refunds": [{"amount_minor": 100, "status": "PENDING", "custom_id": "old"}], "dispute": {}},
            {
                "status": "AUTHORISED",
                "captured_minor": 400,
                "authorization_id": "AUTH1",
                "capture_id": "CAP1",
            },
        ],
    )
    first, second = made["payments"]
    assert shop.get(f"/v2/payments/refunds/{first['refunds'][0]}").body["status"] == "PENDING"
    assert shop.get(f"/v1/customer/disputes/{first['dispute']}").body["status"] == "OPEN"
    assert (second["authorization_id"], second["capture_id"]) == ("AUTH1", "CAP1")
    assert shop.book == []
    assert shop.get("/v1/notifications/webhooks-events").body["count"] == 0


def test_a_reset_forgets_everything(shop: Shop) -> None:
    shop.refund("1.00", "key-1")
    shop.world.reset("paypal")
    assert shop.book == []
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").status == 401
    shop.token = shop.sign_in()
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").status == 404


# ---------------------------------------------------------------- orders, authorisations, reporting


def test_an_order_cannot_be_read_for_ever_though_its_capture_can(shop: Shop) -> None:
    shop.now += timedelta(days=30, seconds=1)
    shop.token = shop.sign_in()
    assert issue_of(shop.get(f"/v2/checkout/orders/{ORDER}")) == (404, "INVALID_RESOURCE_ID")
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").status == 200
    shop.set(order_life_days=3650)
    assert shop.get(f"/v2/checkout/orders/{ORDER}").status == 200


def test_an_authorisation_is_released_once_and_replays_by_its_request_id(shop: Shop) -> None:
    id = shop.seed(number="7", amount_minor=900, payments=[{"status": "AUTHORISED"}])["payments"][0][
        "authorization_id"
    ]
    path = f"/v2/payments/authorizations/{id}/void"
    key = {"PayPal-Request-Id": "key-1"}
    first, again = shop.call("POST", path, **key), shop.call("POST", path, **key, **WHOLE)

    assert (first.status, first.payload) == (204, b"")
    assert (again.status, again.body["status"]) == (200, "VOIDED")
    assert issue_of(shop.call("POST", path)) == (422, "PREVIOUSLY_VOIDED")
    assert [(x["effect"], x["id"], x["amount_minor"], x["target"]["number"]) for x in shop.book] == [
        ("void", id, 900, "7")
    ]
    assert shop.book[0]["idempotency_key"] == "key-1"


@pytest.mark.parametrize(
    ("_case", "payment", "wanted"),
    [
        ("captured", {"status": "COMPLETED"}, "PREVIOUSLY_CAPTURED"),
        ("captured in two steps", {"status": "AUTHORISED", "captured_minor": 900}, "PREVIOUSLY_CAPTURED"),
        ("a reauthorisation", {"status": "AUTHORISED", "parent": "AUTH0"}, "CANNOT_BE_VOIDED"),
        ("denied", {"status": "DENIED"}, "CANNOT_BE_VOIDED"),
        ("run out", {"status": "AUTHORISED", "expires": "2026-11-23T12:00:00Z"}, "PREVIOUSLY_VOIDED"),
    ],
)
def test_an_authorisation_that_cannot_be_voided_is_not(
    shop: Shop, _case: str, payment: dict[str, Any], wanted: str
) -> None:
    shop.seed(amount_minor=900, payments=[{"authorization_id": "AUTH1", **payment}])
    assert issue_of(shop.call("POST", "/v2/payments/authorizations/AUTH1/void")) == (422, wanted)
    assert shop.book == []


def test_voiding_a_partly_captured_authorisation_releases_the_rest(shop: Shop) -> None:
    shop.seed(amount_minor=900, payments=[{"status": "AUTHORISED", "authorization_id": "AUTH1"}])
    captured = shop.settle(authorization="AUTH1", capture_minor=300)
    path = "/v2/payments/authorizations/AUTH1"
    assert shop.get(path).body["status"] == "PARTIALLY_CAPTURED"
    assert shop.call("POST", f"{path}/void", **WHOLE).body["status"] == "VOIDED"
    assert captured["supplementary_data"]["related_ids"]["authorization_id"] == "AUTH1"
    assert shop.refund("3.00", capture=captured["id"]).status == 201
    assert shop.effects == [("void", 600), ("refund", 300)]


def test_a_void_by_hand_and_a_capture_too_much(shop: Shop) -> None:
    shop.seed(amount_minor=900, payments=[{"status": "AUTHORISED", "authorization_id": "AUTH1"}])
    with pytest.raises(ValueError, match="cannot be captured"):
        shop.settle(authorization="AUTH1", capture_minor=901)
    assert shop.settle(authorization="AUTH1", status="VOIDED")["status"] == "VOIDED"
    with pytest.raises(ValueError, match="cannot be voided"):
        shop.settle(authorization="AUTH1", status="VOIDED")
    assert [(line["effect"], line["by"]) for line in shop.book] == [("void", "dashboard")]


def test_reporting_shows_movements_three_hours_late(shop: Shop) -> None:
    refund = shop.refund("10.00", custom_id="rf_1").body["id"]
    window = {"start_date": "2026-11-01T00:00:00Z", "end_date": "2026-11-30T00:00:00Z"}
    assert "transaction_details" not in shop.get("/v1/reporting/transactions", **window).body
    shop.now += timedelta(hours=3)
    shown = shop.get("/v1/reporting/transactions", **window).body
    infos = [each["transaction_info"] for each in shown["transaction_details"]]
    assert [
        (x["transaction_id"], x["transaction_event_code"], x["transaction_amount"]["value"]) for x in infos
    ] == [
        (CAPTURE, "T0006", "42.50"),
        (refund, "T1107", "-10.00"),
    ]
    assert (infos[1]["paypal_reference_id"], infos[1]["custom_field"]) == (CAPTURE, "rf_1")
    assert infos[1]["transaction_status"] == "S"
    second = shop.get("/v1/reporting/transactions", **window, page_size=1, page=2).body
    assert (second["total_items"], second["total_pages"]) == (2, 2)
    assert [x["transaction_info"]["transaction_id"] for x in second["transaction_details"]] == [refund]
    found = shop.get("/v1/reporting/transactions", **window, transaction_id=refund).body
    assert found["total_items"] == 1


@pytest.mark.parametrize(
    ("_case", "query", "issue"),
    [
        ("no end", {"start_date": "2026-11-01T00:00:00Z"}, "MISSING_REQUIRED_PARAMETER"),
        (
            "32 days",
            {"start_date": "2026-10-01T00:00:00Z", "end_date": "2026-11-02T00:00:00Z"},
            "INVALID_PARAMETER_VALUE",
        ),
        (
            "four years back",
            {"start_date": "2022-11-01T00:00:00Z", "end_date": "2022-11-02T00:00:00Z"},
            "INVALID_PARAMETER_VALUE",
        ),
        ("no time", {"start_date": "2026-11-01", "end_date": "2026-11-02"}, "INVALID_PARAMETER_SYNTAX"),
    ],
)
def test_reporting_refuses_windows_that_it_cannot_serve(
    shop: Shop, _case: str, query: dict[str, str], issue: str
) -> None:
    assert issue_of(shop.get("/v1/reporting/transactions", **query)) == (400, issue)


# ---------------------------------------------------------------- disputes


def test_an_open_case_refuses_partial_refunds_and_lets_a_full_one_through(shop: Shop) -> None:
    dispute = shop.settle(capture=CAPTURE, open_dispute={"reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED"})
    assert issue_of(shop.refund("42.49")) == (422, "TRANSACTION_DISPUTED")
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").body["status_details"] == {
        "reason": "BUYER_COMPLAINT"
    }
    assert shop.refund("42.50").status == 201
    assert shop.effects == [("refund", 4250)]
    shown = shop.get(f"/v1/customer/disputes/{dispute['dispute_id']}").body
    assert (shown["status"], shown["refund_details"]["allowed_refund_amount"]["value"]) == ("OPEN", "0.00")


def test_an_open_case_can_be_made_to_refuse_full_refunds_too(shop: Shop) -> None:
    shop.set(is_disputed_full_refund_refused=True)
    shop.settle(capture=CAPTURE, open_dispute={})
    assert issue_of(shop.refund("42.50")) == (422, "TRANSACTION_DISPUTED")
    assert shop.book == []


def test_a_full_refund_can_be_made_to_close_the_case(shop: Shop) -> None:
    shop.set(is_dispute_closed_by_full_refund=True)
    dispute = shop.settle(capture=CAPTURE, open_dispute={})
    shop.refund()
    shown = shop.get(f"/v1/customer/disputes/{dispute['dispute_id']}").body
    assert (shown["status"], shown["dispute_outcome"]["amount_refunded"]["value"]) == ("RESOLVED", "42.50")
    assert shop.effects == [("refund", 4250)]


def test_a_chargeback_takes_the_money_and_stops_all_refunds_until_it_is_won(shop: Shop) -> None:
    dispute = shop.settle(capture=CAPTURE, open_dispute={"stage": "CHARGEBACK"})["dispute_id"]
    for value in ("1.00", "42.50", None):
        assert issue_of(shop.refund(value)) == (422, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK")
    assert shop.get(f"/v2/payments/captures/{CAPTURE}").body["status_details"] == {"reason": "CHARGEBACK"}
    won = shop.settle(dispute=dispute, status="RESOLVED", outcome="RESOLVED_SELLER_FAVOUR")
    assert [each["type"] for each in won["money_movements"]] == ["DEBIT", "CREDIT"]
    assert shop.refund("42.50").status == 201
    assert shop.effects == [("dispute_withdrawn", 4250), ("dispute_reinstated", 4250), ("refund", 4250)]


def test_a_lost_chargeback_stops_refunds_for_good(shop: Shop) -> None:
    dispute = shop.settle(capture=CAPTURE, open_dispute={"stage": "CHARGEBACK"})["dispute_id"]
    shop.settle(dispute=dispute, status="RESOLVED", outcome="RESOLVED_BUYER_FAVOUR")
    assert issue_of(shop.refund()) == (422, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK")
    assert shop.effects == [("dispute_withdrawn", 4250)]
    with pytest.raises(ValueError, match="stays so"):
        shop.settle(dispute=dispute, status="OPEN")


def test_a_claim_within_paypal_is_no_chargeback_though_its_stage_is_called_so(shop: Shop) -> None:
    shop.settle(capture=CAPTURE, open_dispute={"stage": "CHARGEBACK", "channel": "INTERNAL"})
    assert issue_of(shop.refund("1.00")) == (422, "TRANSACTION_DISPUTED")
    assert shop.refund("42.50").status == 201


def test_a_lost_case_takes_what_is_left_of_the_disputed_money(shop: Shop) -> None:
    shop.refund("40.00")
    dispute = shop.settle(capture=CAPTURE, open_dispute={})["dispute_id"]
    shop.settle(dispute=dispute, status="RESOLVED")
    assert issue_of(shop.refund("1.00")) == (422, "CAPTURE_FULLY_REFUNDED")
    assert shop.effects == [("refund", 4000), ("dispute_withdrawn", 250)]


def test_accepting_a_claim_refunds_the_buyer_once(shop: Shop) -> None:
    dispute = shop.settle(capture=CAPTURE, open_dispute={"amount_minor": 3000})["dispute_id"]
    path = f"/v1/customer/disputes/{dispute}"
    assert "accept_claim" in [each["rel"] for each in shop.get(path).body["links"]]
    assert shop.post(f"{path}/accept-claim", {}).status == 200
    assert issue_of(shop.post(f"{path}/accept-claim", {})) == (
        422,
        "ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE",
    )
    assert [(x["effect"], x["amount_minor"], x["by"], x["reference"]) for x in shop.book] == [
        ("refund", 3000, "accept_claim", None)
    ]
    shown = shop.get(path).body
    assert (shown["status"], shown["dispute_outcome"]["outcome_code"]) == (
        "RESOLVED",
        "RESOLVED_BUYER_FAVOUR",
    )
    assert [each["rel"] for each in shown["links"]] == ["self"]
    assert issue_of(shop.refund("12.51")) == (422, "REFUND_AMOUNT_EXCEEDED")


def test_accepting_a_claim_after_a_full_refund_pays_nothing_more(shop: Shop) -> None:
    dispute = shop.settle(capture=CAPTURE, open_dispute={})["dispute_id"]
    shop.refund()
    assert shop.post(f"/v1/customer/disputes/{dispute}/accept-claim", {}).status == 200
    assert shop.effects == [("refund", 4250)]


def test_evidence_is_given_as_multipart_while_it_is_asked_for(shop: Shop) -> None:
    opened = {"channel": "INTERNAL", "stage": "CHARGEBACK"}
    dispute = shop.settle(capture=CAPTURE, open_dispute=opened)["dispute_id"]
    path = f"/v1/customer/disputes/{dispute}/provide-evidence"
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="input"\r\n\r\n{}\r\n--x--'
    assert shop.post(path, {}).status == 415
    assert shop.call("POST", path, b"--x--", **multipart).status == 400
    assert shop.call("POST", path, body, **multipart).status == 200
    assert shop.get(f"/v1/customer/disputes/{dispute}").body["status"] == "UNDER_REVIEW"
    assert shop.call("POST", path, body, **multipart).status == 422


def test_disputes_are_listed_by_the_sellers_transaction(shop: Shop) -> None:
    dispute = shop.settle(capture=CAPTURE, open_dispute={"amount_minor": 1000})
    listed = shop.get("/v1/customer/disputes", disputed_transaction_id=CAPTURE).body["items"]
    assert [(x["dispute_id"], x["dispute_amount"]["value"], x["dispute_state"]) for x in listed] == [
        (dispute["dispute_id"], "10.00", "OPEN_INQUIRIES")
    ]
    transaction = dispute["disputed_transactions"][0]
    assert transaction["seller_transaction_id"] == CAPTURE
    buyers = transaction["buyer_transaction_id"]
    none = shop.get("/v1/customer/disputes", disputed_transaction_id=buyers).body
    assert (set(none), buyers != CAPTURE) == ({"links"}, True)
    shop.set(is_empty_list_absent=False)
    assert shop.get("/v1/customer/disputes", disputed_transaction_id="NONE").body["items"] == []


def test_disputes_are_listed_newest_first_in_pages(shop: Shop) -> None:
    ids = []
    for _ in range(3):
        shop.now += timedelta(minutes=1)
        ids.append(shop.settle(capture=CAPTURE, open_dispute={})["dispute_id"])
    query = {"disputed_transaction_id": CAPTURE, "page_size": 2}
    first = shop.get("/v1/customer/disputes", **query).body
    following = next(each["href"] for each in first["links"] if each["rel"] == "next")
    token = urlsplit(following).query.partition("next_page_token=")[2]
    second = shop.get("/v1/customer/disputes", **query, next_page_token=token).body
    assert [each["dispute_id"] for each in first["items"]] == [ids[2], ids[1]]
    assert [each["dispute_id"] for each in second["items"]] == [ids[0]]
    assert [each["rel"] for each in second["links"]] == ["self"]


def test_a_list_of_disputes_that_asks_for_nothing_begins_now(shop: Shop) -> None:
    shop.settle(capture=CAPTURE, open_dispute={})
    shop.now += timedelta(seconds=1)
    assert "items" not in shop.get("/v1/customer/disputes").body
    assert len(shop.get("/v1/customer/disputes", start_time="2026-11-01T00:00:00Z").body["items"]) == 1
    assert len(shop.get("/v1/customer/disputes", dispute_state="OPEN_INQUIRIES,RESOLVED").body["items"]) == 1
    assert "items" not in shop.get("/v1/customer/disputes", dispute_state="RESOLVED").body


@pytest.mark.parametrize(
    ("_case", "query"),
    [
        ("both filters", {"disputed_transaction_id": CAPTURE, "start_time": "2026-11-01T00:00:00Z"}),
        ("too long ago", {"start_time": "2026-01-01T00:00:00Z"}),
        ("a big page", {"disputed_transaction_id": CAPTURE, "page_size": 51}),
        ("an odd transaction", {"disputed_transaction_id": "a-b"}),
        ("an odd token", {"disputed_transaction_id": CAPTURE, "next_page_token": "x"}),
    ],
)
def test_a_list_of_disputes_refuses_what_it_does_not_know(
    shop: Shop, _case: str, query: dict[str, Any]
) -> None:
    assert shop.get("/v1/customer/disputes", **query).status == 400


# ---------------------------------------------------------------- webhooks


def certificate_of(shop: Shop, headers: dict[str, str]) -> x509.Certificate:
    answer = shop.call("GET", urlsplit(headers["PAYPAL-CERT-URL"]).path)
    assert answer.status == 200
    return x509.load_pem_x509_certificate(answer.payload)


def is_signed(shop: Shop, headers: dict[str, str], body: bytes, webhook_id: str) -> bool:
    """Checks as a receiver would, with nothing of the double's but what it sent and serves."""
    id, at = headers["PAYPAL-TRANSMISSION-ID"], headers["PAYPAL-TRANSMISSION-TIME"]
    key = certificate_of(shop, headers).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    try:
        key.verify(
            base64.b64decode(headers["PAYPAL-TRANSMISSION-SIG"]),
            f"{id}|{at}|{webhook_id}|{zlib.crc32(body)}".encode(),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except InvalidSignature:
        return False
    return True


def asked_online(headers: dict[str, str], body: bytes, webhook_id: str = HOOK) -> bytes:
    """The request to the verification endpoint, with the event's bytes as they came."""
    fields = {
        "transmission_id": headers["PAYPAL-TRANSMISSION-ID"],
        "transmission_time": headers["PAYPAL-TRANSMISSION-TIME"],
        "cert_url": headers["PAYPAL-CERT-URL"],
        "auth_algo": headers["PAYPAL-AUTH-ALGO"],
        "transmission_sig": headers["PAYPAL-TRANSMISSION-SIG"],
        "webhook_id": webhook_id,
    }
    return json.dumps(fields).encode()[:-1] + b', "webhook_event": ' + body + b" }"


def verdict(shop: Shop, asked: bytes) -> str:
    answer = shop.call(
        "POST", "/v1/notifications/verify-webhook-signature", asked, **{"Content-Type": "application/json"}
    )
    assert answer.status == 200
    return str(answer.body["verification_status"])


def signed(shop: Shop, webhook_id: str = HOOK) -> tuple[dict[str, str], bytes]:
    shop.refund("1.00")
    delivery = shop.vendor.sign(shop.vendor.event_for("PAYMENT.CAPTURE.REFUNDED", CAPTURE), "", webhook_id)
    return dict(delivery.headers), delivery.body


def test_a_webhook_is_signed_so_that_its_certificate_proves_it(shop: Shop) -> None:
    headers, body = signed(shop)
    certificate = certificate_of(shop, headers)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert str(names[0].value).endswith(".paypal.com")
    assert certificate.not_valid_before_utc < shop.now < certificate.not_valid_after_utc
    assert urlsplit(headers["PAYPAL-CERT-URL"])[:2] == ("https", "api-m.sandbox.paypal.com")
    assert headers["PAYPAL-AUTH-ALGO"] == "SHA256withRSA"
    assert is_signed(shop, headers, body, HOOK)
    assert not is_signed(shop, headers, body + b" ", HOOK)
    assert not is_signed(shop, headers, body, "OTHERHOOK")


def test_the_key_is_only_made_when_something_is_signed(shop: Shop) -> None:
    shop.refund("1.00")
    assert shop.vendor._certificates == {}
    signed(shop)
    signed(shop)
    assert len(shop.vendor._certificates) == 1
    shop.token = ""
    assert shop.get("/v1/notifications/certs/CERT-unknown").status == 404


@pytest.mark.parametrize("kind", ["expired", "foreign"])
def test_bad_certificates_can_be_asked_for(shop: Shop, kind: str) -> None:
    shop.settle(certificate=kind)
    headers, body = signed(shop)
    certificate = certificate_of(shop, headers)
    name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    assert (certificate.not_valid_after_utc < shop.now) == (kind == "expired")
    assert name.endswith(".paypal.com") == (kind == "expired")
    assert verdict(shop, asked_online(headers, body)) == ("SUCCESS" if kind == "expired" else "FAILURE")


def test_a_renewed_certificate_has_an_address_of_its_own_and_the_old_one_stays(shop: Shop) -> None:
    old = signed(shop)
    shop.settle(certificate="renewed")
    new = signed(shop)
    assert old[0]["PAYPAL-CERT-URL"] != new[0]["PAYPAL-CERT-URL"]
    assert [is_signed(shop, *each, HOOK) for each in (old, new)] == [True, True]


def test_the_online_check_takes_the_event_byte_for_byte(shop: Shop) -> None:
    headers, body = signed(shop)
    good = asked_online(headers, body)
    assert verdict(shop, good) == "SUCCESS"
    assert verdict(shop, asked_online(headers, json.dumps(json.loads(body)).encode())) == "FAILURE"
    assert verdict(shop, json.dumps(json.loads(good)).encode()) == "FAILURE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYPAL-TRANSMISSION-ID", "another"),
        ("PAYPAL-TRANSMISSION-TIME", "2026-11-23T12:00:01Z"),
        ("PAYPAL-TRANSMISSION-SIG", "AAAA"),
        ("PAYPAL-TRANSMISSION-SIG", "no base64"),
        ("PAYPAL-CERT-URL", "https://evil.example/v1/notifications/certs/CERT-1"),
        ("PAYPAL-AUTH-ALGO", "SHA1withRSA"),
    ],
)
def test_the_online_check_refuses_what_was_changed(shop: Shop, name: str, value: str) -> None:
    headers, body = signed(shop)
    assert verdict(shop, asked_online({**headers, name: value}, body)) == "FAILURE"


def test_the_online_check_refuses_another_webhook_and_simulated_events(shop: Shop) -> None:
    headers, body = signed(shop)
    assert verdict(shop, asked_online(headers, body, "OTHERHOOK")) == "FAILURE"
    headers, body = signed(shop, "WEBHOOK_ID")
    assert verdict(shop, asked_online(headers, body, "WEBHOOK_ID")) == "FAILURE"


@pytest.mark.parametrize(
    ("_case", "body", "status"),
    [
        ("no JSON", b"{", 400),
        ("a list", b"[]", 400),
        ("nothing", b"{}", 400),
        (
            "a member missing",
            asked_online(
                dict.fromkeys(
                    [
                        "PAYPAL-TRANSMISSION-ID",
                        "PAYPAL-TRANSMISSION-TIME",
                        "PAYPAL-CERT-URL",
                        "PAYPAL-AUTH-ALGO",
                        "PAYPAL-TRANSMISSION-SIG",
                    ],
                    "x",
                ),
                b"{}",
            ).replace(b"webhook_event", b"event"),
            400,
        ),
    ],
)
def test_an_unreadable_question_to_the_online_check_is_refused(
    shop: Shop, _case: str, body: bytes, status: int
) -> None:
    path = "/v1/notifications/verify-webhook-signature"
    assert shop.call("POST", path, body, **{"Content-Type": "application/json"}).status == status
    assert shop.call("POST", path, body).status == 415


def test_the_signed_message_is_the_published_one() -> None:
    vector = load(specs("paypal") / "webhook_signature_vector.json")
    body = vector["raw_body"].encode()
    message = signed_message(
        vector["transmission_id"], vector["transmission_time"], vector["webhook_id"], body
    )
    assert message.decode() == vector["signed_message"]
    assert message.decode().rpartition("|")[2] == vector["crc32_decimal"]


def test_events_are_sent_to_whoever_subscribed_with_the_refund_and_its_capture(shop: Shop) -> None:
    shop.world.webhooks.subscribe("paypal", Subscription("https://shop.example/hooks", HOOK))
    refund = shop.refund("10.00", custom_id="rf_1").body
    shop.world.webhooks.wait_idle()
    (url, headers, body), *more = shop.deliveries
    event = json.loads(body)
    assert (url, more) == ("https://shop.example/hooks", [])
    assert event["id"].startswith("WH-")
    assert (event["event_type"], event["resource_type"]) == ("PAYMENT.CAPTURE.REFUNDED", "refund")
    assert event["resource"] == refund
    up = next(each["href"] for each in event["resource"]["links"] if each["rel"] == "up")
    assert up.rpartition("/")[2] == CAPTURE
    assert is_signed(shop, headers, body, HOOK)


def told(shop: Shop) -> list[tuple[str, str]]:
    events = shop.get("/v1/notifications/webhooks-events", page_size=50).body["events"]
    return [(each["event_type"], each["resource"].get("status", "")) for each in reversed(events)]


def test_a_pending_refund_is_told_at_once_and_its_end_is_not(shop: Shop) -> None:
    shop.fault(Kind.SLOW_PENDING)
    refund = shop.refund("10.00").body["id"]
    shop.settle(refund=refund, status="COMPLETED")
    shop.settle(refund=refund, status="FAILED")
    assert told(shop) == [("PAYMENT.CAPTURE.REFUNDED", "PENDING")]


def test_the_states_of_a_refund_can_be_made_to_be_told(shop: Shop) -> None:
    shop.set(has_refund_status_events=True)
    shop.fault(Kind.SLOW_PENDING)
    refund = shop.refund("10.00").body["id"]
    shop.settle(refund=refund, status="COMPLETED")
    shop.settle(refund=refund, status="FAILED")
    assert told(shop) == [
        ("PAYMENT.REFUND.PENDING", "PENDING"),
        ("PAYMENT.CAPTURE.REFUNDED", "COMPLETED"),
        ("PAYMENT.REFUND.FAILED", "FAILED"),
    ]


def test_voids_disputes_captures_and_approvals_are_told(shop: Shop) -> None:
    shop.seed(
        id="ORDER2",
        amount_minor=900,
        payments=[
            {"status": "AUTHORISED", "authorization_id": "AUTH1"},
            {"status": "PENDING", "capture_id": "CAP1"},
        ],
    )
    shop.call("POST", "/v2/payments/authorizations/AUTH1/void")
    shop.settle(capture="CAP1", status="DECLINED")
    dispute = shop.settle(capture=CAPTURE, open_dispute={"stage": "CHARGEBACK"})["dispute_id"]
    shop.settle(dispute=dispute, status="UNDER_REVIEW", stage="PRE_ARBITRATION")
    shop.settle(dispute=dispute, status="RESOLVED")
    shop.settle(order="ORDER2", approval="reversed")
    assert told(shop) == [
        ("PAYMENT.AUTHORIZATION.VOIDED", "VOIDED"),
        ("PAYMENT.CAPTURE.DECLINED", "DECLINED"),
        ("CUSTOMER.DISPUTE.CREATED", "WAITING_FOR_SELLER_RESPONSE"),
        ("PAYMENT.CAPTURE.REVERSED", "COMPLETED"),
        ("CUSTOMER.DISPUTE.UPDATED", "UNDER_REVIEW"),
        ("CUSTOMER.DISPUTE.RESOLVED", "RESOLVED"),
        ("CHECKOUT.PAYMENT-APPROVAL.REVERSED", "VOIDED"),
    ]


def test_missed_events_are_listed_filtered_and_paged(shop: Shop) -> None:
    ids = []
    for value in ("1.00", "2.00", "3.00"):
        ids.append(shop.refund(value).body["id"])
        shop.now += timedelta(minutes=1)
    path = "/v1/notifications/webhooks-events"
    first = shop.get(path, page_size=2, transaction_id=CAPTURE).body
    following = next(each["href"] for each in first["links"] if each["rel"] == "next")
    second = shop.call("GET", following.partition("paypal.com")[2]).body
    assert [each["resource"]["id"] for each in first["events"]] == [ids[2], ids[1]]
    assert [each["resource"]["id"] for each in second["events"]] == [ids[0]]
    assert (first["count"], second["count"]) == (2, 1)
    assert "next" not in [each["rel"] for each in second["links"]]
    window = {"start_time": "2026-11-23T12:00:30Z", "end_time": "2026-11-23T12:01:30Z"}
    assert [each["resource"]["id"] for each in shop.get(path, **window).body["events"]] == [ids[1]]
    assert shop.get(path, event_type="PAYMENT.CAPTURE.REVERSED").body["events"] == []
    assert shop.get(path, transaction_id=ids[0]).body["count"] == 1
    assert shop.get(path, page_size=0).status == 400


def test_what_was_told_stays_as_it_was_told_and_can_be_sent_again(shop: Shop) -> None:
    shop.fault(Kind.SLOW_PENDING)
    refund = shop.refund("1.00").body["id"]
    shop.settle(refund=refund, status="FAILED")
    event = shop.get("/v1/notifications/webhooks-events").body["events"][0]
    path = f"/v1/notifications/webhooks-events/{event['id']}"
    shop.world.webhooks.subscribe("paypal", Subscription("https://shop.example/hooks", HOOK))
    answer = shop.post(f"{path}/resend", {})
    shop.world.webhooks.wait_idle()
    assert (answer.status, answer.body) == (202, event)
    assert [json.loads(body) for _, _, body in shop.deliveries] == [event]
    assert event["resource"]["status"] == "PENDING"
    assert shop.get(path).body == event
    assert shop.get("/v1/notifications/webhooks-events/WH-none").status == 404


def test_a_simulated_event_is_posted_signed_with_the_literal_id_and_listed_nowhere(shop: Shop) -> None:
    arrived = threading.Event()
    send = shop.receive

    def receive(url: str, headers: Any, body: bytes) -> int:
        arrived.set()
        return send(url, headers, body)

    shop.world.webhooks._send = receive
    asked = {"url": "https://shop.example/hooks", "event_type": "PAYMENT.CAPTURE.REFUNDED"}
    assert shop.post("/v1/notifications/simulate-event", asked).status == 202
    assert arrived.wait(5)
    (_, headers, body), *more = shop.deliveries
    assert more == []
    assert is_signed(shop, headers, body, "WEBHOOK_ID")
    assert shop.get("/v1/notifications/webhooks-events").body["count"] == 0
    assert shop.post("/v1/notifications/simulate-event", {"event_type": "X"}).status == 400
    assert shop.post("/v1/notifications/simulate-event", {}).status == 400


def test_an_event_asked_for_twice_is_the_same_and_unknown_ones_do_not_exist(shop: Shop) -> None:
    refund = shop.refund("1.00").body["id"]
    events = [shop.vendor.event_for("PAYMENT.CAPTURE.REFUNDED", each) for each in (refund, CAPTURE)]
    made = [shop.vendor.event_for("PAYMENT.CAPTURE.COMPLETED", CAPTURE) for _ in range(2)]
    assert len({each.id for each in events}) == 1
    assert len({each.id for each in made}) == 1
    for topic, id in (("PAYMENT.CAPTURE.REFUNDED", "none"), ("PAYMENT.SALE.REFUNDED", refund)):
        with pytest.raises(NoSuchObjectError):
            shop.vendor.event_for(topic, id)


def test_a_wrong_word_at_the_controls_is_told(shop: Shop) -> None:
    with pytest.raises(ValueError, match="settle what"):
        shop.settle(colour="red")
    for data in ({"refund": "none", "status": "FAILED"}, {"capture": "none", "open_dispute": {}}):
        with pytest.raises(NoSuchObjectError):
            shop.settle(**data)
    for dispute in ({"stage": "LATER"}, {"status": "LATER"}, {"colour": "red"}):
        with pytest.raises(ValueError, match="a dispute has no"):
            shop.settle(capture=CAPTURE, open_dispute=dispute)
    with pytest.raises(ValueError, match="cannot seed paypal"):
        shop.set(colour="red")


# ---------------------------------------------------------------- the published description


def test_every_answer_fits_the_published_description(shop: Shop) -> None:
    folder = specs("paypal")
    payments = folder / "payments_v2.openapi.json"
    made = shop.seed(
        amount_minor=900,
        payments=[{"status": "AUTHORISED"}, {"dispute": {"stage": "CHARGEBACK"}}, {"status": "PENDING"}],
    )
    held, charged, waiting = made["payments"]
    shop.fault(Kind.SLOW_PENDING)
    pending = shop.refund("1.00", custom_id="rf_1", invoice_id="RF-1", note_to_payer="Sorry")
    minimal = shop.refund("1.00", prefer="return=minimal")
    for answer in (pending, minimal, shop.refund("1.00")):
        check_response(
            payments,
            "POST",
            "/v2/payments/captures/{capture_id}/refund",
            201,
            answer.body,
            declared_only=True,
        )
    authorization, order = held["authorization_id"], made["id"]
    reads = [
        (payments, "/v2/payments/refunds/{refund_id}", f"/v2/payments/refunds/{pending.body['id']}"),
        (payments, "/v2/payments/captures/{capture_id}", f"/v2/payments/captures/{CAPTURE}"),
        (payments, "/v2/payments/captures/{capture_id}", f"/v2/payments/captures/{charged['capture_id']}"),
        (payments, "/v2/payments/captures/{capture_id}", f"/v2/payments/captures/{waiting['capture_id']}"),
        (
            payments,
            "/v2/payments/authorizations/{authorization_id}",
            f"/v2/payments/authorizations/{authorization}",
        ),
        (folder / "orders_v2.openapi.json", "/v2/checkout/orders/{id}", f"/v2/checkout/orders/{ORDER}"),
        (folder / "orders_v2.openapi.json", "/v2/checkout/orders/{id}", f"/v2/checkout/orders/{order}"),
        (
            folder / "disputes_v1.openapi.json",
            "/v1/customer/disputes",
            f"/v1/customer/disputes?disputed_transaction_id={charged['capture_id']}",
        ),
        (
            folder / "webhooks_v1.openapi.json",
            "/v1/notifications/webhooks-events",
            "/v1/notifications/webhooks-events",
        ),
    ]
    for spec, template, path in reads:
        answer = shop.call("GET", path)
        check_response(spec, "GET", template, answer.status, answer.body, declared_only="events" not in path)
    voided = shop.call("POST", f"/v2/payments/authorizations/{authorization}/void", **WHOLE)
    check_response(
        payments,
        "POST",
        "/v2/payments/authorizations/{authorization_id}/void",
        200,
        voided.body,
        declared_only=True,
    )
    disputes = folder / "disputes_v1.openapi.json"
    path = "/v1/customer/disputes/{id}"
    shop.settle(dispute=charged["dispute"], status="UNDER_REVIEW")
    shop.settle(dispute=charged["dispute"], status="RESOLVED", outcome="RESOLVED_SELLER_FAVOUR")
    dispute = shop.get(f"/v1/customer/disputes/{charged['dispute']}").body
    check_response(disputes, "GET", path, 200, dispute)
    opened = shop.settle(capture=CAPTURE, open_dispute={})
    # The description of a single dispute leaves its state out, which the list has.
    check_response(
        disputes,
        "GET",
        path,
        200,
        {k: v for k, v in opened.items() if k != "dispute_state"},
        declared_only=True,
    )
    accepted = shop.post(f"/v1/customer/disputes/{opened['dispute_id']}/accept-claim", {})
    check_response(disputes, "POST", f"{path}/accept-claim", 200, accepted.body, declared_only=True)
    shop.now += timedelta(hours=4)
    window = {"start_date": "2026-11-01T00:00:00Z", "end_date": "2026-11-30T00:00:00Z"}
    report = shop.get("/v1/reporting/transactions", **window).body
    assert len(report["transaction_details"]) > 3
    check_response(
        folder / "reporting_v1.openapi.json",
        "GET",
        "/v1/reporting/transactions",
        200,
        report,
        declared_only=True,
    )


@pytest.mark.parametrize(
    ("value", "capture", "schema"),
    [("42.51", CAPTURE, "error_422"), ("x", CAPTURE, "error_400"), ("1.00", ORDER, "error_404")],
)
def test_every_refusal_fits_the_published_description(
    shop: Shop, value: str, capture: str, schema: str
) -> None:
    described = specs("paypal") / "payments_v2.openapi.json"
    refused = shop.refund(value, capture=capture)
    check_document(described, refused.body, f"/components/schemas/{schema}")
    shop.token = ""
    check_document(described, shop.refund(value).body, "/components/schemas/error_401")


def test_the_issues_of_a_refund_are_those_described(shop: Shop) -> None:
    described = load(specs("paypal") / "payments_v2.openapi.json")
    listed = json.dumps(described["components"]["schemas"]["captures.refund-422"])
    source = (
        "CAPTURE_FULLY_REFUNDED REFUND_CAPTURE_CURRENCY_MISMATCH REFUND_NOT_ALLOWED REFUND_TIME_LIMIT_EXCEEDED "
        "REFUND_AMOUNT_EXCEEDED REFUND_FAILED_INSUFFICIENT_FUNDS PARTIAL_REFUND_NOT_ALLOWED PENDING_CAPTURE "
        "MAX_NUMBER_OF_REFUNDS_EXCEEDED DUPLICATE_INVOICE_ID REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK "
        "TRANSACTION_DISPUTED PLATFORM_FEE_NOT_ENABLED DECIMAL_PRECISION DECIMALS_NOT_SUPPORTED "
        "CANNOT_BE_ZERO_OR_NEGATIVE INVALID_CURRENCY_CODE"
    )
    assert [each for each in source.split() if f'"{each}"' not in listed] == []
