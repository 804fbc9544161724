"""Mailgun: what one message is sent as, how it is found again among events, and what no answer may become."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.mailgun import SPEC, Credentials, Mailgun, build, opened_at
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, mint_case_id, mint_step_key, wire_key
from refundflow.domain.outcomes import Done, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Response
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
