"""Mailgun: what one message is sent as, how it is found again among events, and what no answer may become; what deliveries say
of messages, and what a mail that somebody wrote is taken for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.mailgun import (
    MAIL,
    SPEC,
    SUPPRESSIONS,
    Credentials,
    Mailgun,
    MailgunInbound,
    build,
    is_aligned,
)
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, mint_case_id, mint_step_key, opened_at, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MailReceived,
    MalformedError,
    MessageSeen,
    MessageStatus,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Response
from refundflow.transport.signatures import sign_hex
from tests.support.fake_http import FakeHttp, FakeWire, answer

OPENED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
STEP = mint_step_key(mint_case_id(OPENED, 77), "notify", 1)
DOMAIN = "mg.shop.example"
MESSAGE_ID = f"refundflow.{STEP}.1@{DOMAIN}"
NEXT = f"https://api.mailgun.net/v3/{DOMAIN}/events/W3siYSI6MX1d"
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to="ada@example.com",
    template="refund_sent",
    subject="Your refund",
    text="We sent 42.50 EUR back.",
    html="<p>We sent 42.50 EUR back.</p>",
)
KEY_ADVICE = "give an account API key of the region that the domain is in (a domain's sending key cannot look up what it sent)"


def mailgun(vendor: FakeHttp) -> Mailgun:
    return Mailgun(vendor, DOMAIN, "Shop <orders@mg.shop.example>")


def event(name: str, **changes: Any) -> dict[str, Any]:
    """One event of our message, as Mailgun writes it."""
    return {
        "event": name,
        "id": "czsjqFATSlC3QtAK-C80nw",
        "timestamp": 1795424405.25,
        "recipient": "ada@example.com",
        "message": {"headers": {"message-id": MESSAGE_ID, "from": "orders@mg.shop.example"}},
        "user-variables": {"rf_op": STEP, "rf_key": COMMAND.key},
        **changes,
    }


def page(*events: Any, next_url: str = NEXT) -> Response:
    return answer(200, {"items": list(events), "paging": {"next": next_url, "previous": next_url}})


def test_a_message_is_sent_with_our_reference_in_three_places_and_without_tracking() -> None:
    vendor = FakeHttp(answer(200, {"id": "<20261123.1.AB@mg.shop.example>", "message": "Queued. Thank you."}))
    assert mailgun(vendor).send_message(COMMAND) == Done("20261123.1.AB@mg.shop.example", "queued")
    assert (vendor.sent.method, vendor.sent.path) == ("POST", "/v3/mg.shop.example/messages")
    assert vendor.sent.form == (
        ("from", "Shop <orders@mg.shop.example>"),
        ("to", "ada@example.com"),
        ("subject", "Your refund"),
        ("text", "We sent 42.50 EUR back."),
        ("html", "<p>We sent 42.50 EUR back.</p>"),
        ("h:Message-Id", f"<{MESSAGE_ID}>"),
        ("h:Auto-Submitted", "auto-generated"),
        ("v:rf_op", STEP),
        ("v:rf_key", f"refundflow:{STEP}:1"),
        ("o:tag", "refund_sent"),
        ("o:tracking", "no"),
    )


def test_the_message_id_is_the_same_for_every_try_with_one_key_and_new_with_a_new_key() -> None:
    vendor = FakeHttp(always=answer(500))
    for command in (COMMAND, COMMAND, replace(COMMAND, key=wire_key(STEP, 2))):
        mailgun(vendor).send_message(command)
    sent = [dict(request.form or ())["h:Message-Id"] for request in vendor.requests]
    assert sent == [f"<{MESSAGE_ID}>", f"<{MESSAGE_ID}>", f"<refundflow.{STEP}.2@{DOMAIN}>"]


def test_a_message_without_html_sends_no_html() -> None:
    vendor = FakeHttp(answer(200, {"id": "<a@b>", "message": "Queued. Thank you."}))
    mailgun(vendor).send_message(replace(COMMAND, html=""))
    assert "html" not in dict(vendor.sent.form or ())


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ada",
        "ada@example.com, bob@example.com",
        "ada@example.com;bob@x.y",
        "Ada <ada@example.com>",
        "a@b\nBcc: c@d",
    ],
)
def test_anything_but_one_address_is_refused_and_nothing_is_called(to: str) -> None:
    vendor = FakeHttp()
    assert mailgun(vendor).send_message(replace(COMMAND, to=to)) == Permanent(
        "invalid_recipient", "the message is not addressed to exactly one e-mail address"
    )
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("bad parameter", answer(400, {"message": "to parameter is not a valid address"}),
         Permanent("invalid_message", "to parameter is not a valid address")),
        ("wrong key", answer(401, "Forbidden"), Retryable("unauthorised", f"Mailgun refused the key for {DOMAIN}: {KEY_ADVICE}")),
        ("forbidden", answer(403, "Forbidden"), Retryable("unauthorised", f"Mailgun refused the key for {DOMAIN}: {KEY_ADVICE}")),
        ("unknown domain", answer(404, {"message": "Domain not found: mg.shop.example"}),
         Permanent("not_found", "Domain not found: mg.shop.example (is mg.shop.example a domain of this account and region?)")),
        ("a 404 from somebody else", answer(404, "<html>nginx</html>"), Unknown("unreadable answer from Mailgun, status 404")),
        ("too large", answer(413, ""), Permanent("too_large", "Mailgun takes no message of this size")),
        ("slow down", answer(429, {"message": "Too many requests"}, {"Retry-After": "7"}),
         Retryable("throttled", "Mailgun asks us to slow down", 7.0)),
        ("server error", answer(500, {"message": "Internal error"}), Unknown("unreadable answer from Mailgun, status 500")),
        ("bad gateway", answer(502, "<html>"), Unknown("unreadable answer from Mailgun, status 502")),
        ("unavailable", answer(503, ""), Unknown("unreadable answer from Mailgun, status 503")),
        ("empty yes", answer(200, ""), Unknown("unreadable answer from Mailgun, status 200")),
        ("a list", answer(200, []), Unknown("unreadable answer from Mailgun, status 200")),
        ("null", answer(200, b"null"), Unknown("unreadable answer from Mailgun, status 200")),
        ("no id", answer(200, {"message": "Queued. Thank you."}), Unknown("unreadable answer from Mailgun, status 200")),
        ("an id of nothing", answer(200, {"id": "<>", "message": "x"}), Unknown("unreadable answer from Mailgun, status 200")),
        ("an id that is a number", answer(200, {"id": 7}), Unknown("unreadable answer from Mailgun, status 200")),
        ("a 400 that is no JSON", answer(400, "Bad Request"), Unknown("unreadable answer from Mailgun, status 400")),
    ],
)  # fmt: skip
def test_answers_to_a_send(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(response)
    assert mailgun(vendor).send_message(COMMAND) == outcome
    assert len(vendor.requests) == 1


def test_a_lost_answer_reaches_the_caller_as_the_wire_tells_it() -> None:
    vendor = FakeHttp(MaybeSentError("read timeout"))
    with pytest.raises(MaybeSentError):
        mailgun(vendor).send_message(COMMAND)


def test_a_look_reads_the_recipients_events_from_ten_minutes_before_the_case_was_opened() -> None:
    vendor = FakeHttp(page())
    assert mailgun(vendor).find_send_message(COMMAND) == NotFound(
        300.0, "no event of Mailgun carries our reference", 86_400.0
    )
    assert (vendor.sent.method, vendor.sent.path) == ("GET", "/v3/mg.shop.example/events")
    assert vendor.sent.params == (
        ("begin", str(int(OPENED.timestamp()) - 600)),
        ("ascending", "yes"),
        ("limit", "300"),
        ("recipient", "ada@example.com"),
    )


def test_an_address_with_capitals_is_looked_for_in_both_spellings() -> None:
    vendor = FakeHttp(page(), page(event("accepted")), page())
    found = mailgun(vendor).find_send_message(replace(COMMAND, to="Ada@Example.com"))
    assert found == Done(MESSAGE_ID, "accepted")
    asked = [dict(r.params).get("recipient") for r in vendor.requests]
    assert asked == ["Ada@Example.com", "ada@example.com", None]


def test_pages_are_read_until_one_is_empty_and_our_key_stays_with_our_host() -> None:
    elsewhere = f"https://evil.example/v3/{DOMAIN}/events/W3siYiI6Mn1d?x=1"
    stranger = event("delivered", **{"user-variables": {}, "message": {"headers": {"message-id": "a@b"}}})
    vendor = FakeHttp(page(stranger), page(event("delivered"), next_url=elsewhere), page())
    assert mailgun(vendor).find_send_message(COMMAND) == Done(MESSAGE_ID, "delivered")
    assert vendor.calls == [
        "GET /v3/mg.shop.example/events",
        "GET /v3/mg.shop.example/events/W3siYSI6MX1d",
        "GET /v3/mg.shop.example/events/W3siYiI6Mn1d?x=1",
    ]


def test_more_pages_than_one_customer_can_have_prove_nothing() -> None:
    vendor = FakeHttp(always=page(event("delivered", **{"user-variables": {}, "message": {}})))
    assert mailgun(vendor).find_send_message(COMMAND) == Unknown(
        "more than 10 pages of events for one recipient"
    )
    assert len(vendor.requests) == 10


REWRITTEN = {"headers": {"message-id": "20261123.1.AB@mg.shop.example"}}


@pytest.mark.parametrize(
    ("_case", "events", "outcome"),
    [
        ("accepted", [event("accepted")], Done(MESSAGE_ID, "accepted")),
        ("delivered", [event("accepted"), event("delivered")], Done(MESSAGE_ID, "accepted")),
        ("only delivered is kept", [event("delivered")], Done(MESSAGE_ID, "delivered")),
        ("our Message-Id was replaced, our variable is there", [event("accepted", message=REWRITTEN)],
         Done("20261123.1.AB@mg.shop.example", "accepted")),
        ("variables are gone, our Message-Id is there", [event("accepted", **{"user-variables": {}})], Done(MESSAGE_ID, "accepted")),
        ("only the step is told", [event("accepted", message={}, **{"user-variables": {"rf_op": STEP}})], Done(MESSAGE_ID, "accepted")),
        ("a try is being repeated", [event("failed", severity="temporary")], Done(MESSAGE_ID, "accepted; delivery is being retried")),
        ("bounced", [event("accepted"), event("failed", severity="permanent", **{"delivery-status": {
            "code": 550, "description": "", "message": "5.1.1 <ada@example.com>: no such user"}})],
         Permanent("bounced", "the message cannot be delivered: 550 5.1.1 (address) no such user")),
        ("bounced after all", [event("failed", severity="permanent", reason="bounce"), event("delivered")],
         Permanent("bounced", "the message cannot be delivered: bounce")),
        ("bounced without a word", [event("failed", severity="permanent")],
         Permanent("bounced", "the message cannot be delivered: no reason given")),
        ("suppressed after a bounce", [event("accepted"), event("failed", severity="permanent", reason="suppress-bounce", **{
            "delivery-status": {"code": 605, "message": "Not delivering to previously bounced address"}})],
         Permanent("suppressed", "Mailgun sends nothing to this address: an earlier message bounced (the domain's list of bounces)")),
        ("suppressed for a reason of later days", [event("failed", severity="permanent", reason="suppress-moon")],
         Permanent("suppressed", "Mailgun sends nothing to this address: it is on one of Mailgun's lists")),
        ("rejected", [event("rejected", reject={"reason": "Sandbox recipient not authorised"})],
         Permanent("rejected", "Mailgun did not take the message: Sandbox recipient not authorised")),
        ("an earlier key bounced", [event("failed", severity="permanent", **{"user-variables": {"rf_op": STEP, "rf_key": "refundflow:x:0"}})],
         NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)),
        ("another step", [event("accepted", message=REWRITTEN, **{"user-variables": {"rf_op": "RF-0.notify.1"}})],
         NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)),
        ("step 1 is not step 11", [event("accepted", message=REWRITTEN, **{"user-variables": {"rf_op": f"{STEP}1"}})],
         NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)),
        ("a failure of unknown severity", [event("failed")], Unknown("Mailgun knows the message and says only 'failed' about it")),
        ("an event that we do not know", [event("teleported")], Unknown("Mailgun knows the message and says only 'teleported' about it")),
        ("variables of another shape", [event("accepted", **{"user-variables": [], "message": "?"})],
         NotFound(300.0, "no event of Mailgun carries our reference", 86_400.0)),
    ],
)  # fmt: skip
def test_what_events_say_about_a_message(_case: str, events: list[Any], outcome: Outcome) -> None:
    vendor = FakeHttp(page(*events), page())
    assert mailgun(vendor).find_send_message(COMMAND) == outcome
    assert vendor.is_drained


@pytest.mark.parametrize(
    ("_case", "response", "why"),
    [
        ("a sending key", answer(401, "Forbidden"), f"Mailgun did not let us look for the message: {KEY_ADVICE}"),
        ("forbidden", answer(403, {"message": "no"}), f"Mailgun did not let us look for the message: {KEY_ADVICE}"),
        ("slow down", answer(429, ""), "Mailgun asks us to slow down, so the look for the message has to wait"),
        ("not there", answer(404, {"message": "Domain not found"}), "unreadable answer from Mailgun, status 404"),
        ("server error", answer(500, ""), "unreadable answer from Mailgun, status 500"),
        ("HTML", answer(200, "<html>"), "unreadable answer from Mailgun, status 200"),
        ("a list", answer(200, [1]), "unreadable answer from Mailgun, status 200"),
        ("null items", answer(200, {"items": None}), "unreadable answer from Mailgun, status 200"),
        ("no paging", answer(200, {"items": [event("accepted")]}), "unreadable answer from Mailgun, status 200"),
        ("an item that is no event", page(7), "Mailgun answered with events or a next page that cannot be read"),
        ("a next page that is no events page", page(event("accepted"), next_url="https://x.example/y"),
         "Mailgun answered with events or a next page that cannot be read"),
    ],
)  # fmt: skip
def test_a_look_that_failed_says_nothing_about_the_message(_case: str, response: Response, why: str) -> None:
    assert mailgun(FakeHttp(response)).find_send_message(COMMAND) == Unknown(why)


@pytest.mark.parametrize(
    ("_case", "response", "health"),
    [
        ("fine", answer(200, {"items": []}), Health(True, f"Mailgun domain {DOMAIN} answers")),
        ("wrong key", answer(401, "Forbidden"), Health(False, f"Mailgun refused the key for {DOMAIN}: {KEY_ADVICE}")),
        ("wrong region", answer(404, ""), Health(False, f"Mailgun does not know {DOMAIN} here: check the domain and its region")),
        ("down", answer(503, ""), Health(False, "Mailgun answered with status 503")),
        ("HTML", answer(200, "<html>"), Health(False, "Mailgun answered with status 200")),
    ],
)  # fmt: skip
def test_check(_case: str, response: Response, health: Health) -> None:
    vendor = FakeHttp(response)
    assert mailgun(vendor).check() == health
    assert vendor.calls == ["GET /v3/mg.shop.example/events"]


@pytest.mark.parametrize(
    ("region", "base_url", "host"),
    [
        ("us", "", "https://api.mailgun.net"),
        ("eu", "", "https://api.eu.mailgun.net"),
        ("eu", "http://127.0.0.1:9/mailgun", "http://127.0.0.1:9/mailgun"),
    ],
)
def test_the_region_decides_the_host(region: str, base_url: str, host: str) -> None:
    wire = FakeWire()
    built = build(
        Credentials("MG.Shop.Example", Secret("key-1"), "a@b.example", region=region, base_url=base_url), wire
    )
    (made,) = wire.made
    assert (made["base_url"], made["auth"], made["platform"]) == (host, ("api", "key-1"), "mailgun")
    assert {"to", "from", "subject", "text", "html", "recipient"} <= made["redact"]
    assert (built.domain, built.sender) == ("mg.shop.example", "a@b.example")


def test_a_region_that_mailgun_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="'us' or 'eu', not 'uk'"):
        build(Credentials("mg.shop.example", Secret("k"), "a@b.example", region="uk"), FakeWire())


@pytest.mark.parametrize(
    ("step_key", "seconds"),
    [
        (STEP, int(OPENED.timestamp())),
        ("RF-1.notify.1", 0),
        ("RF-ZZZZZZZZZ000000.notify.1", 0),
        ("RF-01JQZ7K3IL00000.notify.1", 0),
        ("", 0),
    ],
)
def test_a_case_id_tells_when_its_case_was_opened(step_key: str, seconds: int) -> None:
    assert opened_at(StepKey(step_key)) == seconds


def test_nothing_keeps_a_repeat_from_sending_twice_so_a_look_is_declared() -> None:
    operation = SPEC.operations[Capability.SEND_MESSAGE]
    assert (operation.idempotency, operation.key_lifetime_h) == (Idempotency.LOOKUP, None)


# ------------------------------------------------------------------------------------------------ deliveries

KEY = "rf-test-signing-key"
#: Constructed: the vendor publishes none.
VECTOR = {
    "timestamp": "1700000000",
    "token": "0123456789abcdef0123456789abcdef0123456789abcdef01",
    "signature": "9e3bcd30fe023c2571a196f904c7958e217237ad7e51a74432f7ab816ac6dd62",
}
VECTOR_NOW = datetime.fromtimestamp(1_700_000_000, UTC)
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TOKEN = "f" * 50
INBOUND = MailgunInbound(Secret(KEY), DOMAIN, "orders@shop.example")


def signature(at: datetime = NOW, token: str = TOKEN, key: str = KEY, **changes: Any) -> dict[str, Any]:
    timestamp = str(int(at.timestamp()))
    mac = sign_hex(key, f"{timestamp}{token}".encode())
    return {"timestamp": timestamp, "token": token, "signature": mac, **changes}


def webhook(data: Any = None, **changes: Any) -> Delivery:
    told = {"signature": signature(**changes), "event-data": event("delivered") if data is None else data}
    return Delivery({"content-type": "application/json"}, json.dumps(told).encode())


def told_by(name: str, **changes: Any) -> Any:
    return INBOUND.read_event(f"event.{name}", webhook(event(name, **changes)).body)


def test_the_constructed_vector_holds_for_events_and_for_mail() -> None:
    as_event = json.dumps({"signature": VECTOR, "event-data": {"event": "delivered"}}).encode()
    as_mail = urlencode({**VECTOR, "from": "ada@example.com"}).encode()
    for body, topic in ((as_event, "event.delivered"), (as_mail, MAIL)):
        assert INBOUND.verify(Delivery({}, body), VECTOR_NOW) == Verified(VECTOR["token"], topic)


def test_a_token_counts_once_whatever_stands_beside_it() -> None:
    """The signature does not cover the body, so a token that was seen is the same event, also with other words."""
    ids = {INBOUND.verify(delivery, NOW) for delivery in (webhook(), webhook(event("failed")))}
    assert {verified.source_event_id for verified in ids if isinstance(verified, Verified)} == {TOKEN}


def test_a_delivery_that_is_signed_anew_is_another_event() -> None:
    again = INBOUND.verify(webhook(token="e" * 50), NOW)
    assert again == Verified("e" * 50, "event.delivered")


_NO_MATCH = "the signature does not match"
_NO_SIGNATURE = "the signature is missing or cannot be read"
_STALE = "the signature is older than the 9 hours of repeats"


@pytest.mark.parametrize(
    ("_case", "delivery", "why"),
    [
        ("another key", webhook(key="other"), _NO_MATCH),
        ("token and time in the other order", webhook(signature=sign_hex(KEY, f"{TOKEN}{int(NOW.timestamp())}".encode())), _NO_MATCH),
        ("in capitals", webhook(signature=signature()["signature"].upper()), _NO_MATCH),
        ("another token", webhook(signature=signature(token="e" * 50)["signature"]), _NO_MATCH),
        ("another time", webhook(timestamp=str(int(NOW.timestamp()) + 1)), _NO_MATCH),
        ("half a character", webhook(signature="\ud800"), _NO_MATCH),
        ("no signature", webhook(signature=None), _NO_MATCH),
        ("no token", webhook(token=""), _NO_SIGNATURE),
        ("a short token", webhook(token="abc"), _NO_SIGNATURE),
        ("a token of other characters", webhook(token="\x00" * 50), _NO_SIGNATURE),
        ("a time of words", webhook(timestamp="now"), _NO_SIGNATURE),
        ("a digit moved from the time to the token", webhook(timestamp=str(int(NOW.timestamp()))[:-1],
         token=str(int(NOW.timestamp()))[-1] + TOKEN, signature=signature()["signature"]), _NO_SIGNATURE),
        ("a digit moved from the token to the time", Delivery({}, json.dumps({"signature": signature(
         token="7" * 50, timestamp=f"{int(NOW.timestamp())}7")}).encode()), _NO_SIGNATURE),
        ("too old", webhook(at=NOW - timedelta(hours=9, seconds=1)), _STALE),
        ("too young", webhook(at=NOW + timedelta(seconds=301)), _STALE),
        ("no signature at all", Delivery({}, b"{}"), _NO_SIGNATURE),
        ("a list", Delivery({}, b"[]"), _NO_SIGNATURE),
        ("a number", Delivery({}, b"7"), _NO_SIGNATURE),
        ("nothing", Delivery({}, b""), _NO_SIGNATURE),
        ("bytes that are no text", Delivery({}, b"\xff\xfe\x00"), _NO_SIGNATURE),
        ("a form without one", Delivery({}, b"from=ada%40example.com"), _NO_SIGNATURE),
        ("half a multipart form", Delivery({}, b"--x\r\nContent-Disposition: form-data; name="), _NO_SIGNATURE),
    ],
)  # fmt: skip
def test_deliveries_that_are_refused(_case: str, delivery: Delivery, why: str) -> None:
    assert INBOUND.verify(delivery, NOW) == Refused(why)


@pytest.mark.parametrize("at", [NOW - timedelta(hours=9), NOW + timedelta(seconds=300)])
def test_an_old_signature_holds_as_long_as_deliveries_are_repeated(at: datetime) -> None:
    assert isinstance(INBOUND.verify(webhook(at=at), NOW), Verified)


def test_without_a_key_everything_is_refused() -> None:
    assert MailgunInbound(Secret("")).verify(webhook(), NOW) == Refused("no HTTP signing key is set")


def test_two_keys_hold_while_one_is_replaced() -> None:
    inbound = MailgunInbound(Secret(f"fresh,{KEY}"))
    assert all(isinstance(inbound.verify(webhook(key=key), NOW), Verified) for key in ("fresh", KEY))


def test_a_parent_accounts_signature_holds_under_its_key() -> None:
    of_subaccount = signature(key="subaccount")["signature"]
    parents = {"parent-signature": signature()["signature"]}
    assert isinstance(INBOUND.verify(webhook(signature=of_subaccount, **parents), NOW), Verified)
    assert INBOUND.verify(webhook(signature=of_subaccount), NOW) == Refused(_NO_MATCH)


@pytest.mark.parametrize("data", [{}, [], {"event": 7}, {"event": "a\x00"}, {"event": "x" * 99}])
def test_an_event_without_a_name_is_kept_and_cannot_be_read(data: Any) -> None:
    delivery = webhook(data)
    assert INBOUND.verify(delivery, NOW) == Verified(TOKEN, "event.unknown")
    if not (isinstance(data, dict) and isinstance(data.get("event"), str)):
        with pytest.raises(MalformedError, match=r"event-data\.event: is missing"):
            INBOUND.read_event("event.unknown", delivery.body)


UNDELIVERABLE = {"code": 550, "description": "", "message": "5.1.1 <ada@example.com>: no\x00such user"}


@pytest.mark.parametrize(
    ("_case", "seen", "status", "why"),
    [
        ("delivered", told_by("delivered"), MessageStatus.DELIVERED, ""),
        ("bounced", told_by("failed", severity="permanent", **{"delivery-status": UNDELIVERABLE}), MessageStatus.BOUNCED,
         "550 5.1.1 (address) nosuch user"),
        ("suppressed", told_by("failed", severity="permanent", reason="suppress-unsubscribe", **{"delivery-status": {"code": 605}}),
         MessageStatus.BOUNCED,
         "Mailgun sends nothing to this address: its owner unsubscribed (the domain's list of unsubscribes)"),
        ("rejected", told_by("rejected", reject={"reason": "too large"}), MessageStatus.BOUNCED, "too large"),
        ("called spam", told_by("complained"), MessageStatus.COMPLAINED, ""),
        ("wants no more", told_by("unsubscribed"), MessageStatus.OPTED_OUT, ""),
    ],
)  # fmt: skip
def test_what_became_of_our_message(_case: str, seen: Any, status: MessageStatus, why: str) -> None:
    assert seen == MessageSeen("mailgun", STEP, status, why)


@pytest.mark.parametrize("name", ["accepted", "opened", "clicked", "stored", "teleported"])
def test_events_that_change_nothing(name: str) -> None:
    assert isinstance(told_by(name), Irrelevant)


def test_a_try_that_is_repeated_is_no_failure() -> None:
    assert told_by("failed", severity="temporary") == Irrelevant("delivery is being retried")


def test_a_failure_that_does_not_say_whether_it_is_for_good_is_read_by_a_person() -> None:
    with pytest.raises(MalformedError, match=r"event-data\.severity"):
        told_by("failed")


@pytest.mark.parametrize(
    "variables", [None, {}, [], {"rf_op": 7}, {"rf_op": ""}, {"rf_op": "a b"}, {"rf_op": "\x00"}, {"rf_op": "x" * 201}]
)  # fmt: skip
def test_events_of_other_mail_are_none_of_our_business(variables: Any) -> None:
    for name in ("delivered", "failed", "complained"):
        assert told_by(name, **{"user-variables": variables}) == Irrelevant("about no message of ours")


def test_every_list_of_the_vendors_has_words() -> None:
    assert set(SUPPRESSIONS) == {"suppress-bounce", "suppress-complaint", "suppress-unsubscribe"}


# ------------------------------------------------------------------------------------------------ mail

TOP = [["X-Mailgun-Incoming", "Yes"], ["X-Mailgun-Spf", "Pass"], ["X-Mailgun-Dkim-Check-Result", "Fail"]]
RECEIVED = [
    "Received",
    "from mail.example.com by mxa.mailgun.org with ESMTP; Wed, 25 Nov 2026 12:00:00 +0000",
]
SIGNED = ["DKIM-Signature", "v=1; a=rsa-sha256; d=example.com; s=k1; h=from:to:subject; bh=x; b=y"]
FROM = ["From", "Ada Lovelace <Ada@Example.com>"]


def mail_headers(*more: Any, top: Any = TOP, origin: Any = (FROM,)) -> str:
    own = [["To", "cancel@in.shop.example"], ["Subject", "x"], ["Message-Id", "<1@example.com>"]]
    return json.dumps([*top, RECEIVED, *more, *origin, *own])


def mail(*more: Any, top: Any = TOP, origin: Any = (FROM,), **changes: Any) -> bytes:
    """A route's form; a field that is None is left out."""
    fields = {
        "recipient": "cancel@in.shop.example",
        "sender": "ada@example.com",
        "from": "Ada Lovelace <Ada@Example.com>",
        "subject": "Please cancel order 1001",
        "body-plain": "I changed my mind.\r\n\r\n> Your order 1001 was placed.",
        "stripped-text": "I changed my mind.",
        "Message-Id": "<1@example.com>",
        "message-headers": mail_headers(*more, top=top, origin=origin),
        **{name.replace("_", "-"): value for name, value in changes.items()},
        **signature(),
    }
    return urlencode({name: value for name, value in fields.items() if value is not None}).encode()


def read(body: bytes) -> MailReceived:
    reading = INBOUND.read_event(MAIL, body)
    assert isinstance(reading, MailReceived)
    return reading


def multipart(body: bytes, *parts: bytes, boundary: bytes = b"----3f0c9a") -> bytes:
    """The same fields as `forward()` posts them where there are attachments."""
    fields = [
        b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name.encode(), value.encode())
        for name, value in parse_qsl(body.decode(), keep_blank_values=True)
    ]
    return (
        b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in (*fields, *parts))
        + b"--%s--\r\n" % boundary
    )


def test_a_mail_is_read_from_its_form() -> None:
    body = mail()
    assert INBOUND.verify(Delivery({}, body), NOW) == Verified(TOKEN, MAIL)
    assert read(body) == MailReceived(
        message_id="1@example.com",
        sender="ada@example.com",
        subject="Please cancel order 1001",
        text="I changed my mind.",
        sender_name="Ada Lovelace",
        is_authenticated=True,
        is_automatic=False,
    )


NESTED = b'Content-Disposition: form-data; name="attachment-1"; filename="m.eml"\r\nContent-Type: message/rfc822\r\n\r\n' + b"".join(
    b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(3_000)
)  # fmt: skip


@pytest.mark.parametrize(
    ("_case", "parts"),
    [
        ("no file", ()),
        ("a file", (b'Content-Disposition: form-data; name="attachment-1"; filename="a.bin"\r\n\r\n\x00\xff\r\n\r\n--x',)),
        ("a file that says it is a field", (b'Content-Disposition: form-data; name="from"; filename="x"\r\n\r\nmallory@evil.example',)),
        ("a mail nested deeper than anybody nests", (NESTED,)),
        ("a part without a name", (b"Content-Type: text/plain\r\n\r\nx", b"", b"no header at all")),
    ],
)  # fmt: skip
def test_a_mail_with_files_reads_as_the_one_without(_case: str, parts: tuple[bytes, ...]) -> None:
    body = multipart(mail(subject="Grüße"), *parts)
    assert INBOUND.verify(Delivery({"content-type": "multipart/form-data"}, body), NOW) == Verified(
        TOKEN, MAIL
    )
    assert read(body) == read(mail(subject="Grüße"))


def test_fields_that_are_there_twice_prove_nothing_and_the_first_counts() -> None:
    forged = b'Content-Disposition: form-data; name="sender"\r\n\r\nx@example.com'
    found = read(multipart(mail(sender="x@mallory.example"), forged))
    assert found == replace(read(mail(sender="x@mallory.example")), is_authenticated=False)
    twice = read(mail() + b"&from=bob%40example.com")
    assert (twice.sender, twice.is_authenticated) == ("ada@example.com", False)


@pytest.mark.parametrize(
    ("_case", "changes", "text"),
    [
        ("without what is quoted", {}, "I changed my mind."),
        ("nothing but a quotation", {"stripped_text": " \r\n"}, "I changed my mind.\n\n> Your order 1001 was placed."),
        ("not stripped at all", {"stripped_text": None}, "I changed my mind.\n\n> Your order 1001 was placed."),
        ("control characters", {"stripped_text": "a\x00b\x1b[31m\rc"}, "ab[31m\nc"),
        ("empty", {"stripped_text": "", "body_plain": ""}, ""),
    ],
)  # fmt: skip
def test_the_text_is_what_was_written(_case: str, changes: dict[str, Any], text: str) -> None:
    assert read(mail(**changes)).text == text


def test_a_text_without_end_is_cut() -> None:
    assert len(read(mail(stripped_text="x" * 1_100_000)).text) == 1_048_576


@pytest.mark.parametrize(
    ("_case", "origin", "sender", "name", "is_clear"),
    [
        ("bare", "ada@example.com", "ada@example.com", "", True),
        ("a quoted name", r'"Lovelace, \"Ada\"" <ada@example.com>', "ada@example.com", 'Lovelace, "Ada"', True),
        ("an encoded name", "=?utf-8?q?Ad=C3=A4?= <ada@example.com>", "ada@example.com", "Adä", True),
        ("an encoded name that looks like an address", "=?utf-8?q?bob=40bank.example?= <ada@example.com>",
         "ada@example.com", "bob@bank.example", True),
        ("a charset that nobody knows", "=?moon?q?Ada?= <ada@example.com>", "ada@example.com", "Ada", True),
        ("a name that is an address", '"bob@bank.example" <ada@example.com>', "ada@example.com", "bob@bank.example", True),
        ("the same without quotes", "bob@bank.example <ada@example.com>", "ada@example.com", "", False),
        ("two addresses", "bob@example.com, ada@example.com", "ada@example.com", "", False),
        ("a group", "undisclosed: ada@example.com;", "ada@example.com", "", False),
        ("a name with a comma", "Lovelace, Ada <ada@example.com>", "ada@example.com", "", False),
    ],
)  # fmt: skip
def test_who_wrote(_case: str, origin: str, sender: str, name: str, is_clear: bool) -> None:
    found = read(mail(origin=(["From", origin],)))
    assert (found.sender, found.sender_name, found.is_authenticated) == (sender, name, is_clear)


def test_a_mail_of_nobody_cannot_be_read() -> None:
    for body in (
        mail(origin=(["From", "nobody"],)),
        mail(origin=(), **{"from": None}),
        mail(origin=(), **{"from": ""}),
    ):
        with pytest.raises(MalformedError, match="from: names no address"):
            read(body)


def test_a_mail_that_comes_as_one_piece_says_what_is_wrong_with_the_route() -> None:
    with pytest.raises(MalformedError, match="must not end in mime"):
        read(mail(body_plain=None, stripped_text=None, body_mime="From: ada@example.com\r\n\r\nx"))


def test_a_mail_without_a_message_id_is_named_by_its_content() -> None:
    headers = json.dumps([*TOP, RECEIVED, FROM])
    found = read(mail(message_headers=headers, Message_Id=None))
    assert (found.message_id[:7], len(found.message_id)) == ("sha256:", 71)


@pytest.mark.parametrize("headers", [None, "", "[]", "{", "{}", "null"])
def test_headers_that_cannot_be_read_prove_nothing_and_the_fields_stand_in(headers: str | None) -> None:
    asks = {"X-Mailgun-Spf": "Pass", "Received": "by mxa.mailgun.org"}
    found = read(mail(message_headers=headers, **asks))
    assert found == replace(read(mail()), is_authenticated=False)
    assert read(mail(message_headers=headers, **{"Auto-Submitted": "auto-replied"})).is_automatic


SPF_FAILED = [["X-Mailgun-Spf", "Fail"], ["X-Mailgun-Dkim-Check-Result", "Pass"]]
SOFT = [["X-Mailgun-Spf", "SoftFail"]]


@pytest.mark.parametrize(
    ("_case", "body", "is_proven"),
    [
        ("SPF of the same domain", mail(), True),
        ("SPF of a domain above", mail(origin=(["From", "ada@mail.example.com"],)), True),
        ("SPF of a domain below", mail(sender="bounce@mail.example.com"), False),
        ("SPF of another domain", mail(sender="x@mallory.example"), False),
        ("SPF of a domain that only ends alike", mail(origin=(["From", "ada@notexample.com"],)), False),
        ("SPF of a top-level domain", mail(sender="x@com"), False),
        ("SPF of nobody", mail(sender=""), False),
        ("SPF said nothing", mail(top=[["X-Mailgun-Incoming", "Yes"]]), False),
        ("SPF failed softly", mail(top=SOFT), False),
        ("SPF said two things", mail(top=[*TOP, *SOFT]), False),
        ("SPF by the sender's own word", mail(["X-Mailgun-Spf", "Pass"], top=[]), False),
        ("SPF by the sender's own word, beside Mailgun's", mail(["X-Mailgun-Spf", "Pass"], top=SOFT), False),
        ("no mark of where the sender's headers begin", mail(message_headers=json.dumps([*TOP, FROM])), False),
        ("DKIM of the same domain", mail(SIGNED, top=SPF_FAILED), True),
        ("DKIM of the domain above", mail(SIGNED, top=SPF_FAILED, origin=(["From", "ada@mail.example.com"],)), True),
        ("DKIM of nobody", mail(top=SPF_FAILED), False),
        ("DKIM failed", mail(SIGNED, top=[["X-Mailgun-Dkim-Check-Result", "Fail"]]), False),
        ("DKIM by the sender's own word", mail(SIGNED, ["X-Mailgun-Dkim-Check-Result", "Pass"], top=SOFT), False),
        ("DKIM of another domain", mail(["DKIM-Signature", "d=mallory.example; b=y"], top=SPF_FAILED), False),
        ("DKIM of two, and one is another's", mail(SIGNED, ["DKIM-Signature", "d=mallory.example; b=y"], top=SPF_FAILED), False),
        ("DKIM of a part of the body", mail(["DKIM-Signature", f"{SIGNED[1]}; l=12"], top=SPF_FAILED), False),
        ("DKIM of two domains in one", mail(["DKIM-Signature", "d=mallory.example; d=example.com"], top=SPF_FAILED), False),
        ("DKIM of a folded domain", mail(["DKIM-Signature", "d = Example.\r\n\tcom ; b=y"], top=SPF_FAILED), True),
        ("two From lines", mail(origin=(FROM, ["From", "ada@example.com"])), False),
    ],
)  # fmt: skip
def test_only_a_result_that_is_about_the_from_line_proves_it(
    _case: str, body: bytes, is_proven: bool
) -> None:
    assert read(body).is_authenticated is is_proven


@pytest.mark.parametrize(
    ("proven", "domain", "is_so"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.b.example.com", True),
        ("b.example.com", "example.com", False),
        ("com", "example.com", False),
        ("", "example.com", False),
        ("example.com", "", False),
        ("ample.com", "example.com", False),
    ],
)
def test_a_domain_speaks_for_itself_and_for_what_is_below(proven: str, domain: str, is_so: bool) -> None:
    assert is_aligned(proven, domain) is is_so


@pytest.mark.parametrize(
    ("_case", "body", "is_automatic"),
    [
        ("a person", mail(), False),
        ("a person who says so", mail(["Auto-Submitted", "no"], ["Precedence", "normal"]), False),
        ("out of office", mail(["Auto-Submitted", "auto-replied; owner=x"]), True),
        ("generated", mail(["auto-submitted", "Auto-Generated"]), True),
        ("a list", mail(["List-Id", "<news.example.com>"]), True),
        ("a newsletter", mail(["List-Unsubscribe", "<mailto:x@example.com>"]), True),
        ("bulk", mail(["Precedence", "Bulk"]), True),
        ("an old autoresponder", mail(["X-Autoreply", "yes"]), True),
        ("another one", mail(["X-Autoresponder", ""]), True),
        ("asks for silence", mail(["X-Auto-Response-Suppress", "DR, OOF"]), True),
        ("asks for something else", mail(["X-Auto-Response-Suppress", "DR, RN"]), False),
        ("a report of delivery", mail(["Content-Type", "multipart/report; report-type=delivery-status"]), True),
        ("no envelope sender", mail(sender=""), True),
        ("an empty envelope sender", mail(sender="<>"), True),
        ("an envelope sender that is not told", mail(sender=None), False),
        ("a mailer daemon", mail(origin=(["From", "MAILER-DAEMON@example.com"],)), True),
        ("no-reply", mail(origin=(["From", "no-reply@example.com"],)), True),
        ("our own mark", mail(["X-Refundflow-Loop", "RF-1"]), True),
        ("our own address", mail(origin=(["From", "Orders@Shop.example"],)), True),
        ("our sending domain", mail(origin=(["From", f"anybody@{DOMAIN}"],)), True),
        ("the shop's domain, where a person works", mail(origin=(["From", "grace@shop.example"],)), False),
    ],
)  # fmt: skip
def test_mail_of_machines_and_our_own_is_told_from_mail_of_people(
    _case: str, body: bytes, is_automatic: bool
) -> None:
    assert read(body).is_automatic is is_automatic


@given(st.binary(max_size=400), st.text(max_size=200), st.text(max_size=200))
def test_whatever_comes_is_read_or_refused_and_never_trips(raw: bytes, origin: str, text: str) -> None:
    for body in (
        raw,
        multipart(mail(), raw),
        b"--x\r\n" + raw,
        mail(message_headers=text, stripped_text=text),
    ):
        assert isinstance(INBOUND.verify(Delivery({}, body), NOW), Verified | Refused)
        for topic in (MAIL, "event.delivered"):
            try:
                reading = INBOUND.read_event(topic, body)
            except MalformedError:
                continue
            assert "\x00" not in repr(reading)
    mailed = read(mail(origin=(["From", f"{origin} <ada@example.com>"],), subject=origin))
    assert len(mailed.subject) <= 998
    assert mailed.sender.endswith("@example.com")


def test_the_credentials_make_the_reader() -> None:
    credentials = Credentials(
        "MG.Shop.Example", Secret("k"), "Shop <Orders@Shop.example>", webhook_signing_key=Secret(KEY)
    )
    assert credentials.inbound == INBOUND
    assert KEY not in repr(credentials.inbound)
