"""The practice Etsy: what can be read, who may read, what a person does in Shop Manager, and what it notes in its book."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Event, Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.etsy import (
    API_KEY,
    APPLICATION_ID,
    KEYSTRING,
    LEDGER_WINDOW_S,
    REFRESH_TOKEN,
    SHOP_ID,
    USER_ID,
    WEBHOOK_SECRET,
    Etsy,
    signature_of,
)
from tests.support.specs import check_document, check_response, load, specs

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
START_S = 1795435200
RECEIPT = 2001
APP = "/v3/application"
SHOP = f"{APP}/shops/{SHOP_ID}"
LINES = [
    {"id": 11, "sku": "MUG", "quantity": 2, "unit_minor": 1500},
    {"id": 12, "quantity": 1, "unit_minor": 500},
]
# 35.00 of goods, 5.00 of shipping, 2.00 of tax; 1.26 of it are fees.
ORDER: Record = {
    "id": RECEIPT,
    "lines": LINES,
    "shipping_minor": 500,
    "tax_minor": 200,
    "created": START_S - 86_400,
}


class Bench:
    """A practice Etsy behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.world = World([Etsy], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("etsy")
        assert isinstance(vendor, Etsy)
        self.etsy = vendor
        self.refresh_token = REFRESH_TOKEN
        self.token = ""
        self.refresh()

    def _receive(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.append((url, dict(headers), body))
        return 200

    def seed(self, *receipts: Record, **more: Any) -> list[Record]:
        made: list[Record] = self.world.seed({"etsy": {"receipts": list(receipts), **more}})["etsy"][
            "receipts"
        ]
        return made

    def settle(self, **data: Any) -> Record:
        return self.world.settle("etsy", data)[0]

    def ask_token(self, **changes: Any) -> Result:
        form = {
            "grant_type": "refresh_token",
            "client_id": KEYSTRING,
            "refresh_token": self.refresh_token,
            **changes,
        }
        return self.client.simulate_post(
            "/etsy/v3/public/oauth/token",
            body=urlencode({name: value for name, value in form.items() if value is not None}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def refresh(self) -> Record:
        answer: Record = self.ask_token().json
        self.token, self.refresh_token = answer["access_token"], answer["refresh_token"]
        return answer

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> Result:
        sent = {"x-api-key": API_KEY, "Authorization": f"Bearer {self.token}"} if headers is None else headers
        return self.client.simulate_get(f"/etsy{path}", query_string=urlencode(query), headers=sent)

    def receipt(self, key: int = RECEIPT) -> Record:
        body: Record = self.get(f"{SHOP}/receipts/{key}").json
        return body

    def listed(self, **query: Any) -> list[int]:
        return [each["receipt_id"] for each in self.get(f"{SHOP}/receipts", **query).json["results"]]

    def payment(self, key: int = RECEIPT) -> Record:
        [payment] = self.get(f"{SHOP}/receipts/{key}/payments").json["results"]
        assert isinstance(payment, dict)
        return payment

    def ledger(self, **query: Any) -> list[Record]:
        asked = {"min_created": START_S - 10 * 86_400, "max_created": START_S + 86_400, **query}
        entries: list[Record] = self.get(f"{SHOP}/payment-account/ledger-entries", **asked).json["results"]
        return entries

    def book(self, effect: str | None = None) -> list[Record]:
        return self.etsy.book.lines(effect)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- who may read


def test_the_ping_needs_the_key_alone(bench: Bench) -> None:
    answer = bench.get(f"{APP}/openapi-ping", {"x-api-key": API_KEY})

    assert (answer.status_code, answer.json) == (200, {"application_id": APPLICATION_ID})


@pytest.mark.parametrize(
    ("_case", "headers", "status", "error"),
    [
        ("no key", {}, 403, "Missing x-api-key header"),
        ("the old form", {"x-api-key": KEYSTRING}, 403, "Shared secret is required in x-api-key header."),
        ("no secret behind the colon", {"x-api-key": f"{KEYSTRING}:"}, 403, "Shared secret is required in x-api-key header."),
        ("a wrong secret", {"x-api-key": f"{KEYSTRING}:x"}, 403, "Invalid API key"),
        ("no token", {"x-api-key": API_KEY}, 401, "Missing authorization header"),
        ("another scheme", {"x-api-key": API_KEY, "Authorization": "Basic x"}, 401, "Missing authorization header"),
        ("an unknown token", {"x-api-key": API_KEY, "Authorization": f"Bearer {USER_ID}.x"}, 401, "invalid_token"),
    ],
)  # fmt: skip
def test_shop_data_needs_key_secret_and_token(
    bench: Bench, _case: str, headers: dict[str, str], status: int, error: str
) -> None:
    answer = bench.get(f"{APP}/users/me", headers)

    assert (answer.status_code, answer.json["error"]) == (status, error)


def test_me_is_the_user_and_the_shop(bench: Bench) -> None:
    assert bench.get(f"{APP}/users/me").json == {"user_id": USER_ID, "shop_id": SHOP_ID}


def test_a_token_lives_for_an_hour(bench: Bench) -> None:
    bench.now += timedelta(seconds=3599)
    assert bench.get(f"{APP}/users/me").status_code == 200
    bench.now += timedelta(seconds=1)
    answer = bench.get(f"{APP}/users/me")

    assert (answer.status_code, answer.json) == (
        401,
        {"error": "invalid_token", "error_description": "access token is expired"},
    )


def test_a_refresh_rotates_the_token_and_the_old_one_is_good_no_more(bench: Bench) -> None:
    first = bench.refresh_token
    answer = bench.refresh()

    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert answer["access_token"].startswith(f"{USER_ID}.")
    assert answer["refresh_token"] != first
    again = bench.ask_token(refresh_token=first)
    assert (again.status_code, again.json) == (
        400,
        {"error": "invalid_grant", "error_description": "refresh_token is revoked"},
    )
    check_document(specs("etsy") / "oauth-token.schema.json", answer)


def test_a_house_that_keeps_old_refresh_tokens_takes_them_twice(bench: Bench) -> None:
    bench.seed(habits={"is_refresh_single_use": False})

    assert [bench.ask_token().status_code for _ in range(2)] == [200, 200]


def test_the_access_token_from_before_a_refresh_lives_on(bench: Bench) -> None:
    before = bench.token
    bench.refresh()
    bench.token = before

    assert bench.get(f"{APP}/users/me").status_code == 200


@pytest.mark.parametrize(
    ("_case", "changes", "error"),
    [
        ("no grant", {"grant_type": None}, "invalid_request"),
        ("no client", {"client_id": None}, "invalid_request"),
        ("no token", {"refresh_token": None}, "invalid_request"),
        ("another grant", {"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ("the key with its secret", {"client_id": API_KEY}, "invalid_client"),
        ("an unknown token", {"refresh_token": "1.x"}, "invalid_grant"),
    ],
)
def test_a_wrong_refresh_is_refused(bench: Bench, _case: str, changes: Record, error: str) -> None:
    answer = bench.ask_token(**changes)

    assert (answer.status_code, answer.json["error"]) == (400, error)
    assert bench.ask_token().status_code == 200


def test_a_refresh_may_be_json(bench: Bench) -> None:
    body = {"grant_type": "refresh_token", "client_id": KEYSTRING, "refresh_token": bench.refresh_token}

    assert bench.client.simulate_post("/etsy/v3/public/oauth/token", json=body).status_code == 200


def test_a_refresh_token_lives_for_90_days(bench: Bench) -> None:
    bench.now += timedelta(days=90)

    assert bench.ask_token().json["error_description"] == "refresh_token is expired"


def test_a_refresh_whose_answer_is_lost_needs_a_person(bench: Bench) -> None:
    bench.world.faults.add(Fault(Kind.LOST_REPLY, "etsy", "refresh_token"))
    with pytest.raises(ConnectionCutError):
        bench.ask_token()
    assert bench.ask_token().json["error"] == "invalid_grant"

    bench.refresh_token = bench.settle(authorisation="granted")["refresh_token"]
    assert bench.ask_token().status_code == 200


def test_tokens_can_expire_and_the_consent_be_withdrawn(bench: Bench) -> None:
    bench.settle(token="expired")
    assert bench.get(f"{APP}/users/me").status_code == 401
    bench.refresh()
    assert bench.get(f"{APP}/users/me").status_code == 200
    bench.settle(authorisation="revoked")

    assert bench.get(f"{APP}/users/me").status_code == 401
    assert bench.ask_token().json["error_description"] == "refresh_token is revoked"


def test_the_scopes_of_a_token_can_be_asked_for(bench: Bench) -> None:
    def ask(**form: str) -> Result:
        return bench.client.simulate_post(
            f"/etsy{APP}/scopes",
            body=urlencode(form),
            headers={"x-api-key": API_KEY, "Content-Type": "application/x-www-form-urlencoded"},
        )

    bench.seed(scopes=["transactions_r"])
    assert ask(token=bench.token).json == {"scopes": ["transactions_r"]}
    assert ask(token="1.x").status_code == 401
    assert ask().status_code == 400


@pytest.mark.parametrize(
    ("_case", "scopes", "path"),
    [
        ("receipts", ["shops_r"], f"{SHOP}/receipts"),
        ("payments", ["shops_r"], f"{SHOP}/receipts/{RECEIPT}/payments"),
        ("the user", ["transactions_r"], f"{APP}/users/me"),
    ],
)
def test_a_missing_scope_is_a_403(bench: Bench, _case: str, scopes: list[str], path: str) -> None:
    bench.seed(ORDER, scopes=scopes)
    answer = bench.get(path)

    assert (answer.status_code, answer.json) == (
        403,
        {"error": "insufficient_scope", "error_description": "Insufficient scope"},
    )


def test_another_shop_is_not_ours_to_read(bench: Bench) -> None:
    answer = bench.get(f"{APP}/shops/1/receipts")

    assert (answer.status_code, answer.json) == (403, {"error": "User does not own Shop 1"})


# ---------------------------------------------------------------- receipts


def test_a_receipt_has_its_lines_and_its_money(bench: Bench) -> None:
    [made] = bench.seed(ORDER)
    receipt = bench.receipt()

    assert made["total_minor"] == 4200
    assert made["transactions"] == [11, 12]
    assert (receipt["status"], receipt["is_paid"], receipt["is_shipped"]) == ("paid", True, False)
    assert receipt["grandtotal"] == {"amount": 4200, "divisor": 100, "currency_code": "USD"}
    assert receipt["total_tax_cost"]["amount"] == 200
    assert [(each["transaction_id"], each["sku"], each["quantity"]) for each in receipt["transactions"]] == [
        (11, "MUG", 2),
        (12, None, 1),
    ]
    assert receipt["buyer_email"] is None
    assert receipt["refunds"] == []
    assert bench.book() == []


def test_a_divisor_need_not_be_100(bench: Bench) -> None:
    bench.seed(
        {"id": 1, "divisor": 1000, "lines": [{"unit_minor": 4190}]},
        {"id": 2, "currency": "JPY", "lines": [{"unit_minor": 500}]},
    )

    assert bench.receipt(1)["grandtotal"] == {"amount": 41900, "divisor": 1000, "currency_code": "USD"}
    assert bench.receipt(2)["grandtotal"] == {"amount": 500, "divisor": 1, "currency_code": "JPY"}


@pytest.mark.parametrize(
    ("_case", "path", "status", "error"),
    [
        ("unknown", f"{SHOP}/receipts/9", 404, f"Could not find a Shop Receipt with receipt_id = 9 associated with shop_id = {SHOP_ID}."),
        ("unknown, its payments", f"{SHOP}/receipts/9/payments", 404, f"Could not find a Shop Receipt with receipt_id = 9 associated with shop_id = {SHOP_ID}."),
        ("no number", f"{SHOP}/receipts/RF-1", 400, "Expected int value for 'receipt_id' (got string)"),
        ("zero", f"{SHOP}/receipts/0", 400, "Value of 'receipt_id' is out of range"),
        ("no such path", f"{SHOP}/receipts/9/refund", 404, "Resource not found"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(bench: Bench, _case: str, path: str, status: int, error: str) -> None:
    answer = bench.get(path)

    assert (answer.status_code, answer.json) == (status, {"error": error})


@pytest.mark.parametrize("path", ["cancel", "refund", "refunds"])
def test_no_call_cancels_or_refunds(bench: Bench, path: str) -> None:
    bench.seed(ORDER)
    answer = bench.client.simulate_post(
        f"/etsy{SHOP}/receipts/{RECEIPT}/{path}", json={}, headers={"x-api-key": API_KEY}
    )

    assert answer.status_code == 404
    assert bench.receipt()["status"] == "paid"
    assert bench.book() == []


def _three_receipts(bench: Bench) -> None:
    bench.seed(
        *(
            {**ORDER, "id": key, "created": START_S - age, "lines": [{"unit_minor": 100}]}
            for key, age in ((1, 300), (2, 200), (3, 100))
        )
    )


def test_a_list_is_newest_first_and_pages_by_offset(bench: Bench) -> None:
    _three_receipts(bench)

    assert bench.listed() == [3, 2, 1]
    assert bench.listed(sort_order="up") == [1, 2, 3]
    assert bench.listed(sort_on="receipt_id", sort_order="asc", limit=2) == [1, 2]
    assert bench.listed(sort_on="receipt_id", sort_order="asc", limit=2, offset=2) == [3]
    assert bench.get(f"{SHOP}/receipts", limit=1).json["count"] == 3
    assert bench.listed(offset=3) == []


def test_a_list_filters_by_time_and_state(bench: Bench) -> None:
    _three_receipts(bench)
    bench.seed({"id": 4, "lines": [{"unit_minor": 100}], "is_paid": False})
    bench.settle(receipt=1, ship=True)

    assert bench.listed(min_created=START_S - 200, max_created=START_S - 100) == [3, 2]
    assert bench.listed(was_paid="false") == [4]
    assert bench.listed(was_shipped="true") == [1]
    assert bench.listed(was_canceled="false", was_paid="true") == [3, 2, 1]
    assert bench.listed(was_canceled="true") == []
    assert bench.listed(min_last_modified=START_S, was_paid="true") == [1]


@pytest.mark.parametrize(
    ("_case", "query"),
    [
        ("limit of nothing", {"limit": 0}),
        ("limit no number", {"limit": "many"}),
        ("offset below zero", {"offset": -1}),
        ("time before the vendor's time", {"min_created": 1}),
        ("time as text", {"min_last_modified": "2026-11-23T12:00:00Z"}),
        ("flag no flag", {"was_canceled": "yes"}),
        ("strange order", {"sort_order": "newest"}),
        ("strange key", {"sort_on": "price"}),
    ],
)
def test_a_wrong_list_is_refused(bench: Bench, _case: str, query: Record) -> None:
    answer = bench.get(f"{SHOP}/receipts", **query)

    assert answer.status_code == 400
    assert list(answer.json) == ["error"]


def test_a_limit_above_100_is_cut_or_refused(bench: Bench) -> None:
    bench.seed(*({"lines": [{"unit_minor": 100}]} for _ in range(101)))

    assert len(bench.listed(limit=200)) == 100
    bench.seed(habits={"is_limit_cut": False})
    assert bench.get(f"{SHOP}/receipts", limit=101).status_code == 400


# ---------------------------------------------------------------- what a person does


def test_a_cancel_in_shop_manager_refunds_the_buyer_and_is_noted(bench: Bench) -> None:
    [made] = bench.seed(ORDER)
    done = bench.settle(receipt=RECEIPT, cancel=True, refund={"note": "RF-77"})

    assert done["amount_minor"] == 4200
    receipt = bench.receipt()
    assert (receipt["status"], receipt["is_paid"]) == ("canceled", True)
    assert receipt["updated_timestamp"] == START_S
    [refund] = receipt["refunds"]
    assert (refund["amount"]["amount"], refund["note_from_issuer"]) == (4200, "RF-77")
    cancel, refunded = bench.book()
    assert (cancel["effect"], cancel["id"]) == ("cancel_order", str(RECEIPT))
    assert refunded == {
        "at": START.isoformat(),
        "vendor": "etsy",
        "effect": "refund",
        "id": str(done["adjustment"]),
        "amount_minor": 4200,
        "currency": "USD",
        "target": {"receipt": RECEIPT, "payment": made["payment_id"]},
        "reference": "RF-77",
        "idempotency_key": None,
        "status": "REFUNDED",
    }


def test_a_full_refund_names_every_line_with_shipping_and_tax(bench: Bench) -> None:
    bench.seed(ORDER)
    bench.settle(receipt=RECEIPT, cancel=True)
    payment = bench.payment()
    [adjustment] = payment["payment_adjustments"]

    assert (adjustment["status"], adjustment["is_success"]) == ("REFUNDED", True)
    assert (adjustment["total_adjustment_amount"], adjustment["total_fee_adjustment_amount"]) == (4200, 126)
    assert [
        (each["adjustment_type"], each["amount"], each["transaction_id"])
        for each in adjustment["payment_adjustment_items"]
    ] == [("TRANS", 3000, 11), ("TRANS", 500, 12), ("SHIP", 500, None), ("TAX", 200, None)]
    assert [payment[f"{name}_gross"]["amount"] for name in ("amount", "posted", "adjusted")] == [
        4200,
        4200,
        0,
    ]
    assert payment["adjusted_net"]["amount"] == 0


def test_the_refund_may_come_after_the_cancel(bench: Bench) -> None:
    bench.seed(ORDER)
    bench.settle(receipt=RECEIPT, cancel=True, refund=None)

    assert bench.receipt()["status"] == "canceled"
    assert bench.payment()["payment_adjustments"] == []
    assert bench.book("refund") == []
    bench.settle(receipt=RECEIPT, refund={})
    assert [line["amount_minor"] for line in bench.book("refund")] == [4200]
    assert bench.receipt()["status"] == "canceled"


def test_an_unpaid_receipt_is_cancelled_without_a_refund(bench: Bench) -> None:
    bench.seed({**ORDER, "is_paid": False})
    assert bench.receipt()["status"] == "payment processing"
    bench.settle(receipt=RECEIPT, cancel=True)

    assert bench.receipt()["status"] == "canceled"
    assert bench.get(f"{SHOP}/receipts/{RECEIPT}/payments").json == {"count": 0, "results": []}
    assert [line["effect"] for line in bench.book()] == ["cancel_order"]


def test_partial_refunds_add_up_to_a_full_one(bench: Bench) -> None:
    bench.seed(ORDER)
    bench.settle(receipt=RECEIPT, refund={"lines": {"11": 1500}, "reason": "damaged"})
    assert bench.receipt()["status"] == "partially refunded"
    payment = bench.payment()
    assert payment["adjusted_gross"]["amount"] == 2700
    assert payment["payment_adjustments"][0]["reason_code"] == "damaged"
    bench.settle(receipt=RECEIPT, refund={"amount_minor": 700})
    bench.settle(receipt=RECEIPT, refund={})

    assert bench.receipt()["status"] == "fully refunded"
    adjustments = bench.payment()["payment_adjustments"]
    assert [each["total_adjustment_amount"] for each in adjustments] == [1500, 700, 2000]
    assert sum(each["total_fee_adjustment_amount"] for each in adjustments) == 126
    items = [item for each in adjustments for item in each["payment_adjustment_items"]]
    assert [(each["adjustment_type"], each["transaction_id"]) for each in items] == [
        ("TRANS", 11),
        (None, None),
        (None, None),
    ]
    assert [line["amount_minor"] for line in bench.book("refund")] == [1500, 700, 2000]


@pytest.mark.parametrize(
    ("_case", "moves", "message"),
    [
        ("more than was paid", [{"receipt": RECEIPT, "refund": {"amount_minor": 4201}}], "4200 left"),
        ("nothing left", [{"receipt": RECEIPT, "cancel": True}, {"receipt": RECEIPT, "refund": {}}], "nothing left"),
        ("less than nothing", [{"receipt": RECEIPT, "refund": {"amount_minor": -1}}], "no amounts"),
        ("a strange line", [{"receipt": RECEIPT, "refund": {"lines": {"99": 1}}}], "no transaction"),
        ("lines that do not add up", [{"receipt": RECEIPT, "refund": {"lines": {"11": 5}, "amount_minor": 6}}], "lines"),
        ("a strange beginning", [{"receipt": RECEIPT, "refund": {"status": "ERROR"}}], "begins as"),
        ("cancelled twice", [{"receipt": RECEIPT, "cancel": True}, {"receipt": RECEIPT, "cancel": True}], "already"),
        ("paid twice", [{"receipt": RECEIPT, "pay": True}], "already"),
        ("shipped when cancelled", [{"receipt": RECEIPT, "cancel": True}, {"receipt": RECEIPT, "ship": True}], "cannot be shipped"),
        ("nothing", [{"listing": 1}], "etsy settles"),
        ("no number", [{"receipt": "RF-1", "cancel": True}], "whole number"),
    ],
)  # fmt: skip
def test_a_wrong_move_is_an_error_at_the_controls(
    bench: Bench, _case: str, moves: list[Record], message: str
) -> None:
    bench.seed(ORDER)
    for move in moves[:-1]:
        bench.settle(**move)
    before = bench.book()

    with pytest.raises(ValueError, match=message):
        bench.settle(**moves[-1])
    assert bench.book() == before


def test_an_unpaid_receipt_has_nothing_to_refund(bench: Bench) -> None:
    bench.seed({**ORDER, "is_paid": False})

    with pytest.raises(ValueError, match="never paid"):
        bench.settle(receipt=RECEIPT, refund={})


def test_what_is_not_there_cannot_be_settled(bench: Bench) -> None:
    with pytest.raises(NoSuchObjectError, match="no receipt"):
        bench.settle(receipt=9, cancel=True)
    with pytest.raises(NoSuchObjectError, match="no adjustment"):
        bench.settle(adjustment=9, status="REFUNDED")


def test_an_open_refund_is_decided_later(bench: Bench) -> None:
    bench.seed(ORDER)
    key = bench.settle(receipt=RECEIPT, cancel=True, refund={"status": "OPEN"})["adjustment"]
    [adjustment] = bench.payment()["payment_adjustments"]
    assert (adjustment["status"], adjustment["is_success"]) == ("OPEN", True)
    bench.now += timedelta(minutes=5)
    bench.settle(adjustment=key, status="REFUNDED")

    [adjustment] = bench.payment()["payment_adjustments"]
    assert (adjustment["status"], adjustment["updated_timestamp"]) == ("REFUNDED", START_S + 300)
    assert adjustment["created_timestamp"] == START_S
    assert [line["effect"] for line in bench.book()] == ["cancel_order", "refund", "update_refund"]


def test_a_failed_refund_gives_the_money_back_to_the_seller(bench: Bench) -> None:
    bench.seed(ORDER)
    key = bench.settle(receipt=RECEIPT, refund={})["adjustment"]
    bench.settle(adjustment=key, status="REFUND_FAILED")

    payment = bench.payment()
    assert payment["payment_adjustments"][0]["is_success"] is False
    assert payment["adjusted_gross"] is None
    assert bench.receipt()["status"] == "paid"
    assert [each["balance"] for each in bench.ledger()][-1] == 4200 - 126
    [failed] = bench.book("refund_failed")
    assert (failed["id"], failed["amount_minor"]) == (str(key), 4200)
    with pytest.raises(ValueError, match="cannot become"):
        bench.settle(adjustment=key, status="REFUNDED")
    # What failed can be refunded again.
    bench.settle(receipt=RECEIPT, refund={})
    assert bench.receipt()["status"] == "fully refunded"


def test_a_house_where_open_is_no_success_shows_it_when_it_is_done(bench: Bench) -> None:
    bench.seed(ORDER, habits={"is_open_success": False})
    key = bench.settle(receipt=RECEIPT, refund={"status": "OPEN"})["adjustment"]

    assert bench.payment()["payment_adjustments"][0]["is_success"] is False
    assert (bench.receipt()["status"], bench.payment()["adjusted_gross"]) == ("paid", None)
    bench.settle(adjustment=key, status="REFUNDED")
    assert bench.receipt()["status"] == "fully refunded"


def test_a_refund_can_show_late(bench: Bench) -> None:
    bench.seed(ORDER, habits={"adjustments_delay_s": 60})
    bench.settle(receipt=RECEIPT, cancel=True)

    assert bench.receipt()["status"] == "canceled"
    assert (bench.receipt()["refunds"], bench.payment()["payment_adjustments"]) == ([], [])
    assert len(bench.ledger()) == 2
    assert len(bench.book("refund")) == 1
    bench.now += timedelta(seconds=60)
    assert len(bench.payment()["payment_adjustments"]) == 1
    assert len(bench.ledger()) == 4


def test_a_buyer_may_have_another_currency(bench: Bench) -> None:
    bench.seed({**ORDER, "buyer_currency": "JPY", "buyer_rate": "150"})
    bench.settle(receipt=RECEIPT, refund={"amount_minor": 1000})
    payment = bench.payment()
    [adjustment] = payment["payment_adjustments"]

    assert (payment["currency"], payment["buyer_currency"]) == ("USD", "JPY")
    assert adjustment["total_adjustment_amount"] == adjustment["shop_total_adjustment_amount"] == 1000
    assert adjustment["buyer_total_adjustment_amount"] == 1500


def test_a_payment_and_a_shipment_are_noted(bench: Bench) -> None:
    bench.seed({**ORDER, "is_paid": False})
    bench.settle(receipt=RECEIPT, pay=True)
    assert bench.receipt()["status"] == "paid"
    bench.settle(receipt=RECEIPT, ship=True)

    receipt = bench.receipt()
    assert (receipt["status"], len(receipt["shipments"])) == ("completed", 1)
    assert [(line["effect"], line["amount_minor"]) for line in bench.book()] == [
        ("pay_order", 4200),
        ("ship_order", None),
    ]


# ---------------------------------------------------------------- how it can be found


@pytest.mark.parametrize("move", [{"cancel": True}, {"refund": {}}, {"refund": {"amount_minor": 100}}])
def test_the_filter_by_last_change_does_not_see_a_cancel_or_refund(bench: Bench, move: Record) -> None:
    bench.seed(ORDER, {**ORDER, "id": 1, "lines": [{"unit_minor": 1}]})
    bench.settle(receipt=RECEIPT, **move)

    assert bench.listed(min_last_modified=START_S - 60) == []
    assert bench.listed(sort_on="updated", sort_order="desc") == [RECEIPT, 1]
    bench.seed(habits={"is_change_filtered": True})
    bench.settle(receipt=1, **move)
    assert bench.listed(min_last_modified=START_S - 60) == [1]


def test_the_list_of_cancelled_receipts_has_it_without_a_time(bench: Bench) -> None:
    bench.seed(ORDER, {**ORDER, "id": 1})
    bench.settle(receipt=RECEIPT, cancel=True)

    assert bench.listed(was_canceled="true", sort_on="updated", sort_order="desc") == [RECEIPT]
    assert bench.listed(was_canceled="true", min_last_modified=START_S - 60) == []
    assert bench.listed(was_canceled="false") == [1]


def test_a_house_where_a_refund_is_no_update_leaves_the_time(bench: Bench) -> None:
    bench.seed(ORDER, habits={"is_refund_an_update": False})
    bench.settle(receipt=RECEIPT, refund={"amount_minor": 1})

    assert bench.receipt()["updated_timestamp"] == START_S - 86_400


def test_the_ledger_shows_payment_and_refund_and_leads_to_the_payment(bench: Bench) -> None:
    [made] = bench.seed(ORDER)
    done = bench.settle(receipt=RECEIPT, refund={"amount_minor": 1000})
    entries = bench.ledger()

    assert [(each["ledger_type"], each["amount"], each["balance"]) for each in entries] == [
        ("PAYMENT_GROSS", 4200, 4200),
        ("PAYMENT_PROCESSING_FEE", -126, 4074),
        ("REFUND_GROSS", -1000, 3074),
        ("REFUND_PROCESSING_FEE", 30, 3104),
    ]
    refund = entries[2]
    assert (refund["reference_type"], refund["reference_id"]) == (
        "payment_adjustment",
        str(done["adjustment"]),
    )
    assert refund["payment_adjustments"][0]["payment_id"] == made["payment_id"]
    assert entries[0]["payment_adjustments"] == []
    ids = ",".join(str(each["entry_id"]) for each in entries)
    path = f"{SHOP}/payment-account/ledger-entries/payments"
    [payment] = bench.get(path, ledger_entry_ids=ids).json["results"]
    assert (payment["payment_id"], payment["receipt_id"]) == (made["payment_id"], RECEIPT)
    assert bench.get(path, ledger_entry_ids=1).json == {"count": 0, "results": []}


def test_a_house_that_does_not_resolve_refund_entries_leads_there_by_the_payment_id(bench: Bench) -> None:
    bench.seed(ORDER, habits={"is_refund_entry_resolved": False})
    bench.settle(receipt=RECEIPT, refund={})
    refund = bench.ledger()[2]

    path = f"{SHOP}/payment-account/ledger-entries/payments"
    assert bench.get(path, ledger_entry_ids=refund["entry_id"]).json["results"] == []
    key = refund["payment_adjustments"][0]["payment_id"]
    [payment] = bench.get(f"{SHOP}/payments", payment_ids=key).json["results"]
    assert payment["receipt_id"] == RECEIPT


def test_where_payments_post_at_shipping_an_earlier_refund_is_never_in_the_ledger(bench: Bench) -> None:
    bench.seed(ORDER, habits={"posts_at_shipping": True})
    bench.settle(receipt=RECEIPT, refund={"amount_minor": 1000})

    assert bench.ledger() == []
    assert bench.payment()["posted_gross"] is None
    bench.settle(receipt=RECEIPT, ship=True)
    assert [(each["ledger_type"], each["amount"]) for each in bench.ledger()] == [
        ("PAYMENT_GROSS", 3200),
        ("PAYMENT_PROCESSING_FEE", -96),
    ]
    assert bench.payment()["posted_gross"]["amount"] == 3200
    bench.settle(receipt=RECEIPT, refund={"amount_minor": 200})
    assert [each["amount"] for each in bench.ledger()][2:] == [-200, 6]


def test_ledger_references_and_order_vary(bench: Bench) -> None:
    [made] = bench.seed(ORDER, habits={"are_references_numbers": True, "is_ledger_newest_first": True})
    entries = bench.ledger()

    assert [each["sequence_number"] for each in entries] == [2, 1]
    assert entries[0]["reference_id"] == made["payment_id"]


def test_the_ledger_pages_and_filters_by_time(bench: Bench) -> None:
    bench.seed(ORDER)
    bench.settle(receipt=RECEIPT, refund={})

    assert [each["sequence_number"] for each in bench.ledger(limit=3)] == [1, 2, 3]
    assert [each["sequence_number"] for each in bench.ledger(limit=3, offset=3)] == [4]
    assert [each["sequence_number"] for each in bench.ledger(min_created=START_S)] == [3, 4]
    assert [each["sequence_number"] for each in bench.ledger(max_created=START_S - 1)] == [1, 2]


@pytest.mark.parametrize(
    ("_case", "query"),
    [
        ("no begin", {"max_created": START_S}),
        ("no end", {"min_created": START_S}),
        ("more than 31 days", {"min_created": START_S - LEDGER_WINDOW_S - 1, "max_created": START_S}),
        ("milliseconds", {"min_created": (START_S - 3 * 86_400) * 1000, "max_created": START_S * 1000}),
    ],
)
def test_the_ledger_wants_two_times_within_31_days(bench: Bench, _case: str, query: Record) -> None:
    assert bench.get(f"{SHOP}/payment-account/ledger-entries", **query).status_code == 400
    assert bench.ledger(min_created=START_S - LEDGER_WINDOW_S, max_created=START_S) == []


@pytest.mark.parametrize("path", ["payments", "payment-account/ledger-entries/payments"])
def test_a_list_by_ids_wants_ids(bench: Bench, path: str) -> None:
    name = "payment_ids" if path == "payments" else "ledger_entry_ids"

    def ask(**query: Any) -> Result:
        return bench.get(f"{SHOP}/{path}", **query)

    assert ask().status_code == 400
    assert ask(**{name: "1,x"}).status_code == 400
    assert ask(**{name: "1"}).json == {"count": 0, "results": []}


def test_statuses_and_addresses_may_look_otherwise(bench: Bench) -> None:
    bench.seed(ORDER, habits={"is_status_capitalised": True, "is_email_granted": True})
    bench.settle(receipt=RECEIPT, refund={})

    assert bench.receipt()["status"] == "Fully Refunded"
    assert bench.receipt()["buyer_email"] == "ada@example.com"


# ---------------------------------------------------------------- limits and faults


def test_every_answer_says_what_is_left(bench: Bench) -> None:
    first, second = (bench.get(f"{APP}/users/me") for _ in range(2))

    assert [
        first.headers[name]
        for name in ("x-limit-per-second", "x-remaining-this-second", "x-limit-per-day", "x-remaining-today")
    ] == ["10", "9", "10000", "9999"]
    assert second.headers["x-remaining-today"] == "9998"
    bench.now += timedelta(seconds=1)
    assert bench.get(f"{APP}/users/me").headers["x-remaining-this-second"] == "9"


def test_limits_are_enforced_where_wanted(bench: Bench) -> None:
    bench.seed(habits={"is_limited": True, "per_second": 2, "per_day": 3})

    def answers(times: int) -> list[Result]:
        return [bench.get(f"{APP}/users/me") for _ in range(times)]

    *_, third = answers(3)
    assert (third.status_code, third.json) == (429, {"error": "Exceeded per second rate limit"})
    assert (third.headers["retry-after"], third.headers["x-remaining-this-second"]) == ("1", "0")
    bench.now += timedelta(seconds=1)
    fourth, fifth = answers(2)
    assert fourth.status_code == 200
    assert (fifth.status_code, fifth.json) == (429, {"error": "Exceeded daily rate limit"})
    assert (fifth.headers["retry-after"], fifth.headers["x-remaining-today"]) == ("86400", "0")
    assert bench.ask_token().status_code == 200


@pytest.mark.parametrize(
    ("_case", "code", "error", "after"),
    [
        ("the second's", "", "Exceeded per second rate limit", "1"),
        ("the day's", "daily", "Exceeded daily rate limit", "86400"),
    ],
)
def test_a_429_on_demand_has_the_vendors_shape(
    bench: Bench, _case: str, code: str, error: str, after: str
) -> None:
    bench.world.faults.add(Fault(Kind.STATUS, "etsy", "get_me", status=429, code=code))
    answer = bench.get(f"{APP}/users/me")

    assert (answer.status_code, answer.json) == (429, {"error": error})
    assert answer.headers["retry-after"] == after


def test_a_500_and_refusals_on_demand_have_the_vendors_shape(bench: Bench) -> None:
    faults = bench.world.faults
    faults.add(Fault(Kind.STATUS, "etsy", "get_me", status=500))
    faults.add(Fault(Kind.REFUSE, "etsy", "get_me", code="no_secret"))
    faults.add(Fault(Kind.REFUSE, "etsy", "get_me"))
    faults.add(Fault(Kind.REFUSE_AUTH, "etsy", "get_me"))
    faults.add(Fault(Kind.REFUSE_AUTH, "etsy", "refresh_token"))

    answers = [bench.get(f"{APP}/users/me") for _ in range(5)]
    assert [each.status_code for each in answers] == [500, 403, 404, 401, 200]
    assert answers[0].json == {"error": "Server Error"}
    assert bench.ask_token().json["error"] == "invalid_grant"


# ---------------------------------------------------------------- webhooks


def test_a_webhook_is_signed_as_the_vectors_say(bench: Bench) -> None:
    for vector in load(specs("etsy") / "webhook_signature_vectors.json")["vectors"]:
        bench.now = datetime.fromtimestamp(vector["valid_at"], UTC)
        has_version = vector["webhook-signature"].startswith("v1,")
        bench.seed(habits={"is_signature_versioned": has_version})
        event = Event(vector["webhook-id"], "order.canceled", vector["body"].encode())
        delivery = bench.etsy.sign(event, "http://rf.example/", vector["secret"])

        assert delivery.body == vector["body"].encode()
        assert delivery.headers["webhook-timestamp"] == vector["webhook-timestamp"]
        is_same = delivery.headers["webhook-signature"] == vector["webhook-signature"]
        assert is_same is vector["valid"]


def test_a_cancel_is_told_at_once_and_a_refund_never(bench: Bench) -> None:
    bench.seed(ORDER, {**ORDER, "id": 1, "is_paid": False})
    bench.world.webhooks.subscribe("etsy", Subscription("http://rf.example/hooks/etsy", WEBHOOK_SECRET))
    bench.settle(receipt=RECEIPT, refund={"amount_minor": 1})
    bench.settle(receipt=RECEIPT, cancel=True)
    bench.settle(receipt=1, pay=True)
    bench.settle(receipt=1, ship=True)
    bench.world.webhooks.wait_idle()
    bench.world.close()

    bodies = [json.loads(body) for _, _, body in bench.posted]
    assert [each["event_type"] for each in bodies] == ["order.canceled", "order.paid", "order.shipped"]
    assert bodies[0]["resource_url"] == f"https://api.etsy.com{SHOP}/receipts/{RECEIPT}"
    assert bodies[0]["shop_id"] == str(SHOP_ID)
    url, headers, body = bench.posted[0]
    assert url == "http://rf.example/hooks/etsy"
    signature = signature_of(WEBHOOK_SECRET, headers["webhook-id"], str(START_S), body)
    assert headers["webhook-signature"] == f"v1,{signature}"
    for each in bodies:
        check_document(specs("etsy") / "webhook.order.schema.json", each)


def test_an_event_asked_for_again_is_the_same_event(bench: Bench) -> None:
    bench.seed(ORDER)
    first = bench.etsy.event_for("order.canceled", str(RECEIPT))

    assert bench.etsy.event_for("order.canceled", str(RECEIPT)) == first
    assert bench.etsy.event_for("order.paid", str(RECEIPT)).id != first.id
    with pytest.raises(NoSuchObjectError, match="no receipt"):
        bench.etsy.event_for("order.canceled", "9")
    with pytest.raises(NoSuchObjectError, match="sends no"):
        bench.etsy.event_for("order.refunded", str(RECEIPT))


def test_a_shop_id_may_be_a_number(bench: Bench) -> None:
    bench.seed(ORDER, habits={"is_shop_id_number": True})

    assert bench.etsy.event_for("order.paid", str(RECEIPT)).body["shop_id"] == SHOP_ID


def test_a_secret_of_another_form_cannot_sign() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        signature_of("practice-secret", "msg_1", "1", b"{}")


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize(
    ("_case", "data"),
    [
        ("no lines", {"receipts": [{"id": 1}]}),
        ("no price", {"receipts": [{"lines": [{}]}]}),
        ("a price that is no amount", {"receipts": [{"lines": [{"unit_minor": "1.00"}]}]}),
        ("a divisor that cannot hold it", {"receipts": [{"divisor": 1, "lines": [{"unit_minor": 1}]}]}),
        ("the same id twice", {"receipts": [{"id": 1, "lines": []}, {"id": 1, "lines": []}]}),
        ("a strange habit", {"habits": {"is_kind": True}}),
    ],
)
def test_what_cannot_be_seeded_is_said_and_nothing_is_made(bench: Bench, _case: str, data: Record) -> None:
    with pytest.raises(ValueError, match=r"cannot seed etsy|minor units"):
        bench.world.seed({"etsy": data})
    assert bench.listed() == []


def test_answers_fit_the_published_description(bench: Bench) -> None:
    spec = specs("etsy") / "etsy-v3.openapi.json"
    bench.seed(ORDER, {**ORDER, "id": 1, "is_shipped": True}, {**ORDER, "id": 2, "is_paid": False})
    bench.settle(receipt=RECEIPT, cancel=True)
    bench.settle(receipt=1, refund={"lines": {"11": 100}})

    shop = "/v3/application/shops/{shop_id}"
    window = {"min_created": START_S - 10 * 86_400, "max_created": START_S}
    ids = ",".join(str(each["entry_id"]) for each in bench.ledger())
    for path, query in {
        f"{shop}/receipts": {},
        f"{shop}/receipts/{{receipt_id}}": {},
        f"{shop}/receipts/{{receipt_id}}/payments": {},
        f"{shop}/payments": {"payment_ids": bench.payment()["payment_id"]},
        f"{shop}/payment-account/ledger-entries": window,
        f"{shop}/payment-account/ledger-entries/payments": {"ledger_entry_ids": ids},
        "/v3/application/users/me": {},
        "/v3/application/openapi-ping": {},
    }.items():
        real = path.format(shop_id=SHOP_ID, receipt_id=RECEIPT)
        answer = bench.get(real, **query)
        assert answer.status_code == 200
        check_response(spec, "GET", path, 200, answer.json, declared_only=True)
    missing = bench.get(f"{SHOP}/receipts/9")
    check_response(spec, "GET", f"{shop}/receipts/{{receipt_id}}", 404, missing.json)


def test_a_reset_forgets_receipts_tokens_and_book(bench: Bench) -> None:
    bench.seed(ORDER, habits={"is_limit_cut": False})
    bench.settle(receipt=RECEIPT, cancel=True)
    bench.world.reset("etsy")

    assert bench.book() == []
    assert bench.get(f"{APP}/users/me").status_code == 401
    bench.refresh_token = REFRESH_TOKEN
    bench.refresh()
    assert bench.listed(limit=101) == []
