from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from refundflow.transport.redact import MASK, Redaction

PLAIN = Redaction()


@pytest.mark.parametrize(
    ("_case", "name", "is_hidden"),
    [
        ("the login header", "Authorization", True),
        ("cookies", "set-cookie", True),
        ("a key with dashes", "X-Api-Key", True),
        ("the same in camel case", "apiKey", True),
        ("any token", "x_acme_access_token", True),
        ("any password", "db.password", True),
        ("an address of any kind", "shippingAddress", True),
        ("a plural", "billing_addresses", True),
        ("e-mail with a dash", "E-Mail", True),
        ("a number of a card", "card_number", True),
        ("an amount", "amount", False),
        ("a status", "status", False),
        ("our reference", "refundflow_refund", False),
        ("the idempotency key", "Idempotency-Key", False),
        ("a currency", "currency", False),
    ],
)
def test_names_are_known_whatever_their_spelling(_case: str, name: str, is_hidden: bool) -> None:
    assert PLAIN.hides(name) is is_hidden


def test_a_connector_adds_names_in_any_spelling() -> None:
    redaction = Redaction(frozenset({"contact_note"}))
    assert redaction.json({"contactNote": "call Ada", "note": "x"}) == {"contactNote": MASK, "note": "x"}
    assert PLAIN.json({"contactNote": "call Ada"}) == {"contactNote": "call Ada"}


def test_json_is_masked_at_any_depth_and_keeps_its_shape() -> None:
    told = {
        "id": "re_1",
        "amount": 4250,
        "fee": Decimal("1.20"),
        "is_live": True,
        "list": [{"email": "ada@shop.example", "items": [{"phone": 491701234567}]}],
        "address": {"line1": "Main 1"},
    }
    assert PLAIN.json(told) == {
        "id": "re_1",
        "amount": 4250,
        "fee": "1.20",
        "is_live": True,
        "list": [{"email": MASK, "items": [{"phone": MASK}]}],
        "address": MASK,
    }


def test_that_nothing_was_there_is_no_secret() -> None:
    assert PLAIN.json({"email": None, "phone": "", "address": {}}) == {
        "email": None,
        "phone": "",
        "address": {},
    }


def test_json_inside_a_text_is_masked_by_its_keys() -> None:
    masked = PLAIN.json({"variables": '{"customer": {"firstName": "Ada"}, "n": 1}'})
    assert json.loads(masked["variables"]) == {"customer": {"firstName": MASK}, "n": 1}


def test_bracketed_field_names_are_masked_by_each_part() -> None:
    fields = [("metadata[email]", "a"), ("shipping[address][city]", "b"), ("amount", "1"), ("token", "")]
    assert PLAIN.fields(fields) == [
        ["metadata[email]", MASK],
        ["shipping[address][city]", MASK],
        ["amount", "1"],
        ["token", ""],
    ]


@pytest.mark.parametrize(
    ("_case", "text", "masked"),
    [
        ("an e-mail address", "sent to ada.l+x@mail.shop.example, twice", "sent to ***, twice"),
        ("an e-mail address in a URL", "q=ada%40shop.example&n=1", "q=***&n=1"),
        ("a Visa number", "card 4242424242424242 declined", "card *** declined"),
        ("a card number in groups", "card 5555 5555 5555 4444.", "card ***."),
        ("an Amex number with dashes", "3782-822463-10005", "***"),
        ("a number that fails the checksum", "4242424242424241", "4242424242424241"),
        ("an order id of 13 digits", "order 4539000000000", "order 4539000000000"),
        ("digits inside an id", "pi_4242424242424242", "pi_4242424242424242"),
        ("a time", "2026-11-23T04:00:00Z", "2026-11-23T04:00:00Z"),
    ],
)
def test_texts_are_masked_by_shape(_case: str, text: str, masked: str) -> None:
    assert PLAIN.text(text) == masked


def test_credentials_are_struck_out_wherever_a_vendor_quotes_them() -> None:
    redaction = PLAIN.knowing(["Bearer sk_live_abcdef", "sk_live_abcdef", "short"])
    assert redaction.text("Invalid key: sk_live_abcdef (Bearer sk_live_abcdef)") == "Invalid key: *** (***)"
    assert redaction.json({"message": "key sk_live_abcdef"}) == {"message": "key ***"}
    assert redaction.text("a short word") == "a short word"


@pytest.mark.parametrize(
    ("_case", "url", "masked"),
    [
        (
            "a key in the query",
            "https://v.example/1?key=abc&token=xyz&n=1",
            "https://v.example/1?key=abc&token=***&n=1",
        ),
        ("a user in the host", "https://u:p@v.example/x", "https://v.example/x"),
        ("an address in the path", "https://v.example/u/ada@shop.example", "https://v.example/u/***"),
        ("what is no URL", "http://[bad", "***"),
    ],
)
def test_addresses_lose_their_secrets(_case: str, url: str, masked: str) -> None:
    assert PLAIN.url(url) == masked


def test_an_answer_nested_without_end_is_kept_without_failing() -> None:
    deep: Any = "bottom"
    for _ in range(400):
        deep = {"a": deep}
    masked = json.dumps(PLAIN.json(deep))
    assert masked.count('"a"') == 60
    assert "bottom" not in masked
    assert PLAIN.json({"t": "[" * 50_000}) == {"t": "[" * 50_000}
