"""Twilio: what a text is sent as and billed as, how it is found again, and whose word about it counts."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.twilio import (
    ERRORS,
    SPEC,
    STOP_WORDS,
    Credentials,
    Segments,
    Twilio,
    TwilioInbound,
    body_of,
    build,
    callback_of,
    count_segments,
    read_date,
    reference_of,
    signature_of,
    without_numbers,
)
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Irrelevant,
    MalformedError,
    MessageSeen,
    MessageStatus,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import Response
from refundflow.transport.redact import Redaction
from tests.support.fake_http import FakeHttp, FakeWire, answer

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CASE = mint_case_id(NOW, 77)
STEP = mint_step_key(CASE, "notify", 3)
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
SERVICE = "MG0123456789abcdef0123456789abcdef"
SID = "SM0123456789abcdef0123456789abcdef"
OTHER_SID = "SMffffffffffffffffffffffffffffffff"
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
HOOK = "https://rf.shop.example/hooks/twilio"
ADA = "+12025550170"
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to=ADA,
    template="order_cancelled",
    subject="",
    text="A Shop: your order #1042 is cancelled.",
)
BODY = f"A Shop: your order #1042 is cancelled. Ref {CASE}-3"
SENDER = Credentials(
    ACCOUNT,
    auth_token=Secret("token-of-the-account"),
    api_key="SK0123456789abcdef0123456789abcdef",
    api_secret=Secret("secret-of-the-key"),
    sender="+12025550143",
    webhook_url=HOOK,
)
POOL = replace(SENDER, sender="", messaging_service_sid=SERVICE)
ADVICE = (
    "give REFUNDFLOW_TWILIO_API_KEY and REFUNDFLOW_TWILIO_API_SECRET (or REFUNDFLOW_TWILIO_AUTH_TOKEN) of the account "
    "REFUNDFLOW_TWILIO_ACCOUNT_SID, and of its region where REFUNDFLOW_TWILIO_BASE_URL names one"
)
UNAUTHORISED = Retryable("unauthorised", f"Twilio refused the credentials: {ADVICE}")
NOT_THERE = NotFound(120.0, "no message to this number carries our reference", 30 * 86_400.0)
ERASED = Unknown(
    "Twilio shows messages to this number without their text, and any of them may be ours: switch the redaction of message "
    "bodies off, so that a lost answer can be looked up"
)


def twilio(vendor: FakeHttp, credentials: Credentials = SENDER) -> Twilio:
    return build(credentials, FakeWire(vendor))


def message(**changes: Any) -> dict[str, Any]:
    return {
        "sid": SID,
        "status": "queued",
        "direction": "outbound-api",
        "body": BODY,
        "to": ADA,
        "num_media": "0",
        "date_created": format_datetime(NOW),
        "date_sent": None,
        "error_code": None,
        **changes,
    }


def page(*messages: Any, next_page_uri: str | None = None) -> Response:
    return answer(200, {"messages": list(messages), "next_page_uri": next_page_uri})


def refused(code: int, status: int = 400, words: str = "no") -> Response:
    return answer(status, {"code": code, "message": words, "more_info": "https://x", "status": status})


def sent_as(command: SendMessage, credentials: Credentials = SENDER) -> dict[str, str]:
    vendor = FakeHttp(answer(503))
    twilio(vendor, credentials).send_message(command)
    return dict(vendor.sent.form or ())


# ---------------------------------------------------------------- sending


def test_a_text_is_a_form_with_our_reference_behind_it_and_our_step_in_the_callback() -> None:
    vendor = FakeHttp(answer(201, message()))
    assert twilio(vendor).send_message(COMMAND) == Done(SID, "queued; 1 segment (GSM-7)")
    assert vendor.calls == [f"POST {PATH}"]
    assert vendor.sent.form == (
        ("To", ADA),
        ("From", "+12025550143"),
        ("Body", BODY),
        ("StatusCallback", f"{HOOK}?op={STEP}"),
        ("ValidityPeriod", "3600"),
        ("SmartEncoded", "true"),
    )


def test_a_service_sends_instead_of_a_number() -> None:
    form = sent_as(COMMAND, POOL)
    assert form["MessagingServiceSid"] == SERVICE
    assert "From" not in form


def test_nobody_is_called_back_where_there_is_no_address() -> None:
    assert "StatusCallback" not in sent_as(COMMAND, replace(SENDER, webhook_url=""))


@pytest.mark.parametrize(
    ("_case", "address", "expected"),
    [
        ("plain", HOOK, f"{HOOK}?op={STEP}"),
        ("with parameters of its own", f"{HOOK}?shop=1", f"{HOOK}?shop=1&op={STEP}"),
        ("with words for Twilio's own retries", f"{HOOK}#rc=3", f"{HOOK}?op={STEP}#rc=3"),
        ("with a port", "https://rf.example:8443/h", f"https://rf.example:8443/h?op={STEP}"),
    ],
)
def test_the_callbacks_address_names_the_step(_case: str, address: str, expected: str) -> None:
    assert callback_of(COMMAND, address) == expected


def test_an_address_for_callbacks_alone_is_preferred() -> None:
    elsewhere = replace(SENDER, status_callback_url="https://other.example/cb")
    assert sent_as(COMMAND, elsewhere)["StatusCallback"] == f"https://other.example/cb?op={STEP}"


@pytest.mark.parametrize(
    ("_case", "step_key", "key_number", "reference"),
    [
        ("a notice", STEP, 1, f"{CASE}-3"),
        ("the same after a definite no is another message", STEP, 2, f"{CASE}-3-2"),
        ("another kind of step keeps its name", StepKey("RF-1.report.3"), 1, "RF-1-report-3"),
        ("of a case that was not minted here", StepKey("RF-1.notify.12"), 1, "RF-1-12"),
    ],
)
def test_the_reference_is_short_and_of_this_step_alone(
    _case: str, step_key: StepKey, key_number: int, reference: str
) -> None:
    command = replace(COMMAND, step_key=step_key, key=wire_key(step_key, key_number))
    assert reference_of(command) == reference


@pytest.mark.parametrize(
    ("_case", "text", "plain"),
    [
        ("quotes and dashes", "“It’s” – off…", '"It\'s" - off...'),
        ("spaces that do not break", "42,50\u00a0€ \u202fx", "42,50 €  x"),
        ("a letter in two characters", "cafe\u0301", "café"),
        ("markup is text", "<b>&amp; *_`", "<b>&amp; *_`"),
        ("spaces around it", " \n cancelled\n", "cancelled"),
    ],
)
def test_typographic_marks_are_written_plainly(_case: str, text: str, plain: str) -> None:
    assert body_of(replace(COMMAND, text=text)) == f"{plain} Ref {CASE}-3"


@pytest.mark.parametrize(
    ("_case", "changes", "outcome"),
    [
        (
            "an e-mail address",
            {"to": "ada@customers.example"},
            Permanent(
                "invalid_recipient",
                "the text is not addressed to a telephone number in E.164 (+12025550143)",
            ),
        ),
        (
            "a text that our reference alone would make",
            {"text": " \n"},
            Permanent("no_text", "the message has no text"),
        ),
        (
            "a text that costs too much",
            {"text": "a" * 436},
            Permanent(
                "too_long",
                "the text would be billed as 4 segments (GSM-7) and at most 3 are allowed: shorten the template, or raise "
                "REFUNDFLOW_TWILIO_MAX_SEGMENTS",
            ),
        ),
        (
            "another alphabet that costs too much",
            {"text": "д" * 178},
            Permanent(
                "too_long",
                "the text would be billed as at most 4 segments (UCS-2) and at most 3 are allowed: shorten the template, or raise "
                "REFUNDFLOW_TWILIO_MAX_SEGMENTS",
            ),
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_before_any_call(
    _case: str, changes: dict[str, Any], outcome: Outcome
) -> None:
    vendor = FakeHttp()
    assert twilio(vendor).send_message(replace(COMMAND, **changes)) == outcome
    assert vendor.requests == []


@pytest.mark.parametrize(
    "to",
    ["", "12025550170", "0170 1234567", "+0170123456", "+1 202 555 0170", f"{ADA},{ADA}", "+1", f"{ADA}\n", "whatsapp:+12025550170"],
)  # fmt: skip
def test_only_a_whole_number_in_e164_is_sent_to(to: str) -> None:
    vendor = FakeHttp()
    outcome = twilio(vendor).send_message(replace(COMMAND, to=to))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "invalid_recipient"
    assert vendor.requests == []


def test_the_longest_text_that_is_allowed_goes_and_tells_its_price() -> None:
    for text, most, detail in (
        ("a" * (3 * 153 - 25), 3, "queued; 3 segments (GSM-7)"),
        ("д" * (3 * 67 - 25), 3, "queued; at most 3 segments (UCS-2)"),
        ("a" * (160 - 25), 1, "queued; 1 segment (GSM-7)"),
    ):
        vendor = FakeHttp(answer(201, message()))
        sender = twilio(vendor, replace(SENDER, max_segments=most))
        assert sender.send_message(replace(COMMAND, text=text)) == Done(SID, detail)
        assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("a number's first word", answer(201, message()), Done(SID, "queued; 1 segment (GSM-7)")),
        ("a service's first word", answer(201, message(status="accepted")), Done(SID, "accepted; 1 segment (GSM-7)")),
        ("an MMS", answer(201, message(sid=SID.replace("SM", "MM"))), Done(SID.replace("SM", "MM"), "queued; 1 segment (GSM-7)")),
        ("given up at once", answer(201, message(status="failed", error_code=30034)),
         Permanent("bounced", "the text will not arrive: failed (30034: the sender is not registered)")),
        ("a status that we do not know", answer(201, message(status="lost in space")),
         Unknown("Twilio has the message and says 'lost in space' about it")),
        ("made without a status", answer(201, {"sid": SID}), Unknown("Twilio shows a message without an id or a status")),
        ("made with a strange id", answer(201, message(sid="CA1")), Unknown("Twilio shows a message without an id or a status")),
        ("200 instead of 201", answer(200, message()), Unknown("unreadable answer from Twilio, status 200")),
        ("opted out", refused(21610), Permanent("opted_out", "21610: the customer has opted out of texts from this sender")),
        ("opted out, with another status", refused(21610, 403),
         Permanent("opted_out", "21610: the customer has opted out of texts from this sender")),
        ("no number", refused(21211), Permanent("invalid_recipient", "21211: the customer's number is no valid telephone number")),
        ("a landline", refused(21614), Permanent("invalid_recipient", "21614: the customer's number is not a mobile telephone's")),
        ("a wrong account", refused(20404, 404), Permanent("20404", f"there is no such account: {ADVICE}")),
        ("a code that we do not know", refused(21999, words=f"The 'To' number {ADA} is odd."),
         Permanent("21999", "The 'To' number (number) is odd.")),
        ("the same with a 5xx", refused(21610, 500), Unknown("unreadable answer from Twilio, status 500")),
        ("the credentials", refused(20003, 401), UNAUTHORISED),
        ("the credentials, without a word", answer(401, "no"), UNAUTHORISED),
        ("forbidden", refused(20008, 403), UNAUTHORISED),
        ("throttled", answer(429, {"code": 20429, "message": "Too Many Requests", "status": 429}),
         Retryable("throttled", "Twilio asks us to slow down")),
        ("throttled with a hint", answer(429, "", {"Retry-After": "3"}), Retryable("throttled", "Twilio asks us to slow down", 3.0)),
        ("too fast for the sender", refused(14107), Retryable("throttled", "the sender has reached its rate")),
        ("a full queue", refused(21611), Retryable("throttled", "the sender's queue is full")),
        ("a 400 that is not Twilio's", answer(400, {"code": 7, "message": "no"}), Unknown("unreadable answer from Twilio, status 400")),
        ("a 400 whose code is true", answer(400, {"code": True, "message": "no"}), Unknown("unreadable answer from Twilio, status 400")),
        ("a 404 of a proxy's", answer(404, "<html>"), Unknown("unreadable answer from Twilio, status 404")),
        ("an error after the act", refused(20500, 500), Unknown("unreadable answer from Twilio, status 500")),
        ("HTML", answer(201, "<html>"), Unknown("unreadable answer from Twilio, status 201")),
    ],
)  # fmt: skip
def test_answers_to_a_text(_case: str, response: Response, outcome: Outcome) -> None:
    vendor = FakeHttp(response)
    assert twilio(vendor).send_message(COMMAND) == outcome
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_code_of_the_table_is_read_as_it_says(code: int) -> None:
    assert twilio(FakeHttp(refused(code))).send_message(COMMAND) == ERRORS[code]


def test_the_sheets_lasting_refusals_are_permanent() -> None:
    codes = (21211, 21614, 21610, 21612, 21408, 21617, 21602, 21608, 21606, 21659, 20404, 21609, 30034)
    assert all(isinstance(ERRORS[code], Permanent) for code in codes)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("number +12025550170 is odd", "number (number) is odd"),
        ("number +1 (202) 555-0170.", "number (number)."),
        ("error 30007 of 1600 characters", "error 30007 of 1600 characters"),
        ("x" * 400, "x" * 300),
    ],
)
def test_the_vendors_words_are_told_without_numbers(words: str, told: str) -> None:
    assert without_numbers(words) == told


# ---------------------------------------------------------------- segments


@pytest.mark.parametrize(
    ("_case", "body", "segments"),
    [
        ("nothing", "", Segments("GSM-7", 1)),
        ("160 characters", "a" * 160, Segments("GSM-7", 1)),
        ("161 characters", "a" * 161, Segments("GSM-7", 2)),
        ("two full parts", "a" * 306, Segments("GSM-7", 2)),
        ("one more", "a" * 307, Segments("GSM-7", 3)),
        ("ten full parts", "a" * 1530, Segments("GSM-7", 10)),
        ("an euro counts twice", "€" * 80, Segments("GSM-7", 1)),
        ("and pushes it over", "€" * 80 + "a", Segments("GSM-7", 2)),
        ("an escaped character is not cut in two", "a" * 152 + "€" + "a" * 152, Segments("GSM-7", 3)),
        ("where it fits nothing is lost", "a" * 151 + "€" + "a" * 153, Segments("GSM-7", 2)),
        ("the whole alphabet", "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà", Segments("GSM-7", 1)),
        ("the whole extension", "\f^{}\\[~]|€", Segments("GSM-7", 1)),
        ("a small ç is not in it", "ç", Segments("UCS-2", 1)),
        ("nor a backtick", "`", Segments("UCS-2", 1)),
        ("one other letter changes all", "a" * 69 + "д", Segments("UCS-2", 1)),
        ("71 of them", "a" * 70 + "д", Segments("UCS-2", 2)),
        ("two full parts of them", "д" * 134, Segments("UCS-2", 2)),
        ("one more of them", "д" * 135, Segments("UCS-2", 3)),
        ("an emoji counts twice", "🙂" * 35, Segments("UCS-2", 1)),
        ("and pushes them over", "🙂" * 36, Segments("UCS-2", 2)),
        ("a pair is not cut in two", "🙂" * 67, Segments("UCS-2", 3)),
    ],
)
def test_segments_are_counted_as_they_are_billed(_case: str, body: str, segments: Segments) -> None:
    assert count_segments(body) == segments


# ---------------------------------------------------------------- looking


def test_a_look_reads_all_messages_to_the_number_also_those_not_sent_yet() -> None:
    vendor = FakeHttp(page(message(body="hello", sid=OTHER_SID), message(status="accepted")))
    assert twilio(vendor).find_send_message(COMMAND) == Done(SID, "accepted; 1 segment (GSM-7)")
    assert vendor.calls == [f"GET {PATH}"]
    assert vendor.sent.params == (("To", ADA), ("PageSize", "500"))


def test_a_look_goes_through_all_pages_of_this_account_only() -> None:
    following = f"{PATH}?To=%2B12025550170&PageSize=500&Page=1&PageToken=PASM1"
    vendor = FakeHttp(
        page(message(body="x"), next_page_uri=f"https://elsewhere.example{following}"),
        page(message()),
    )
    assert isinstance(twilio(vendor).find_send_message(COMMAND), Done)
    assert vendor.calls == [f"GET {PATH}", f"GET {following}"]


def test_too_many_messages_prove_nothing() -> None:
    vendor = FakeHttp(always=page(message(body="x"), next_page_uri=f"{PATH}?PageToken=PASM1"))
    assert twilio(vendor).find_send_message(COMMAND) == Unknown("more than 2000 messages to this number")
    assert len(vendor.requests) == 4


OLD = format_datetime(NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("_case", "response", "found"),
    [
        ("nothing", page(), NOT_THERE),
        ("delivered", page(message(status="delivered")), Done(SID, "delivered; 1 segment (GSM-7)")),
        ("with words of the service around it", page(message(body=f"Trial: {BODY} Reply STOP to opt out")),
         Done(SID, "queued; 1 segment (GSM-7)")),
        ("billed as it is listed", page(message(body="д" * 90 + f" Ref {CASE}-3")), Done(SID, "queued; at most 2 segments (UCS-2)")),
        ("it will not arrive", page(message(status="undelivered", error_code=30003)),
         Permanent("bounced", "the text will not arrive: undelivered (30003: the telephone cannot be reached)")),
        ("for a reason that is not told", page(message(status="failed")), Permanent("bounced", "the text will not arrive: failed")),
        ("for a new reason", page(message(status="failed", error_code=39999)),
         Permanent("bounced", "the text will not arrive: failed (39999)")),
        ("one lost and one on its way", page(message(status="failed", sid=OTHER_SID), message()), Done(SID, "queued; 1 segment (GSM-7)")),
        ("a status that we do not know", page(message(status="?")), Unknown("Twilio has the message and says '?' about it")),
        ("another step of the case", page(message(body=f"x Ref {CASE}-31")), NOT_THERE),
        ("an earlier step", page(message(body=f"x Ref {CASE}-1")), NOT_THERE),
        ("the next key of this step", page(message(body=f"x Ref {CASE}-3-2")), NOT_THERE),
        ("a longer case", page(message(body=f"x Ref X{CASE}-3")), NOT_THERE),
        ("the customer quotes us", page(message(direction="inbound")), NOT_THERE),
        ("Twilio's own reply", page(message(direction="outbound-reply")), NOT_THERE),
        ("an erased text", page(message(body="")), ERASED),
        ("an erased text, without a date", page(message(body=None, date_created=None)), ERASED),
        ("an erased text from before the case", page(message(body="", date_created=OLD)), NOT_THERE),
        ("an erased text of the customer's", page(message(body="", direction="inbound")), NOT_THERE),
        ("a picture without words", page(message(body="", num_media="1")), NOT_THERE),
        ("an erased text and ours", page(message(body="", sid=OTHER_SID), message()), Done(SID, "queued; 1 segment (GSM-7)")),
        ("no word about a next page", answer(200, {"messages": []}), Unknown("unreadable answer from Twilio, status 200")),
        ("a next page elsewhere", page(next_page_uri="/2010-04-01/Accounts/ACother/Messages.json?Page=1"),
         Unknown("Twilio names a next page that cannot be read")),
        ("messages that are none", page(None, 7), Unknown("unreadable answer from Twilio, status 200")),
        ("the credentials", refused(20003, 401), Unknown(f"Twilio did not let us look for the message: {ADVICE}")),
        ("a wrong account", refused(20404, 404), Unknown("unreadable answer from Twilio, status 404")),
        ("throttled", answer(429, ""), Unknown("Twilio asks us to slow down, so the look for the message has to wait")),
        ("server error", answer(500, ""), Unknown("unreadable answer from Twilio, status 500")),
        ("a refusal proves nothing", refused(21211), Unknown("unreadable answer from Twilio, status 400")),
    ],
)  # fmt: skip
def test_what_a_look_makes_of_answers(_case: str, response: Response, found: Found) -> None:
    assert twilio(FakeHttp(response)).find_send_message(COMMAND) == found


def test_a_look_for_the_next_key_does_not_take_the_lost_message_for_it() -> None:
    again = replace(COMMAND, key=wire_key(STEP, 2))
    lost = message(status="undelivered")
    assert twilio(FakeHttp(page(lost))).find_send_message(again) == NOT_THERE
    sent = message(sid=OTHER_SID, body=body_of(again))
    assert twilio(FakeHttp(page(lost, sent))).find_send_message(again) == Done(
        OTHER_SID, "queued; 1 segment (GSM-7)"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Wed, 25 Nov 2026 12:00:00 +0000", NOW.timestamp()),
        ("Wed, 25 Nov 2026 12:00:00 +0100", None),
        ("Wed, 25 Foo 2026 12:00:00 +0000", None),
        ("2026-11-25T12:00:00Z", None),
        (None, None),
        (7, None),
    ],
)
def test_dates_are_read_in_the_vendors_form_alone(text: object, seconds: float | None) -> None:
    assert read_date(text) == seconds


# ---------------------------------------------------------------- the account


@pytest.mark.parametrize(
    ("_case", "response", "health"),
    [
        ("fine", page(), Health(True, f"Twilio account {ACCOUNT} answers")),
        ("the credentials", refused(20003, 401), Health(False, f"Twilio refused the credentials: {ADVICE}")),
        ("another account", refused(20404, 404), Health(False, f"Twilio has no account {ACCOUNT} for these credentials: {ADVICE}")),
        ("down", answer(503, ""), Health(False, "Twilio answered with status 503")),
        ("HTML", answer(200, "<html>"), Health(False, "Twilio answered with status 200")),
    ],
)  # fmt: skip
def test_check_lists_one_message(_case: str, response: Response, health: Health) -> None:
    vendor = FakeHttp(response)
    assert twilio(vendor).check() == health
    assert vendor.calls == [f"GET {PATH}"]
    assert vendor.sent.params == (("PageSize", "1"),)


def test_an_api_key_is_preferred_and_of_two_tokens_the_first_one_logs_in() -> None:
    for credentials, login in (
        (SENDER, ("SK0123456789abcdef0123456789abcdef", "secret-of-the-key")),
        (
            replace(SENDER, api_key="", api_secret=Secret(""), auth_token=Secret("new , old")),
            (ACCOUNT, "new"),
        ),
    ):
        wire = FakeWire()
        build(credentials, wire)
        (made,) = wire.made
        assert (made["auth"], made["base_url"]) == (login, "https://api.twilio.com")


def test_a_region_or_a_practice_vendor_can_be_named() -> None:
    wire = FakeWire()
    build(replace(SENDER, base_url="http://127.0.0.1:9/twilio/"), wire)
    assert wire.made[0]["base_url"] == "http://127.0.0.1:9/twilio"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"account_sid": "AC1"}, "account_sid is AC"),
        ({"account_sid": f"{ACCOUNT}/../x"}, "account_sid is AC"),
        ({"api_secret": Secret("")}, "belong together"),
        ({"api_key": ""}, "belong together"),
        ({"api_key": "", "api_secret": Secret(""), "auth_token": Secret(" , ")}, "or auth_token"),
        ({"sender": ""}, "sender or messaging_service_sid"),
        ({"messaging_service_sid": SERVICE}, "and not both"),
        ({"sender": "", "messaging_service_sid": "MG1"}, "messaging_service_sid is MG"),
        ({"max_segments": 0}, "from 1 to 10"),
        ({"max_segments": 11}, "from 1 to 10"),
        ({"webhook_url": "rf.example/hooks"}, "webhook_url is a whole address"),
        ({"status_callback_url": "https://my_shop.example/h"}, "without underscores"),
        ({"status_callback_url": "https://shop.example:x/h"}, "Port"),
    ],
)
def test_credentials_that_cannot_work_say_why(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(SENDER, **changes)


def test_secrets_do_not_show() -> None:
    shown = repr(SENDER)
    assert "token-of" not in shown
    assert "secret-of" not in shown


def test_what_is_kept_of_an_exchange_does_not_spell_the_customers_number_or_text() -> None:
    redaction = Redaction(SPEC.redact)
    vendor = FakeHttp(answer(503))
    twilio(vendor).send_message(COMMAND)
    listed = {
        "messages": [message(**{"from": "+12025550143", "uri": "/x.json"})],
        "next_page_uri": f"{PATH}?To=%2B12025550170&PageToken=PA1",
        "first_page_uri": f"{PATH}?To=%2B12025550170",
        "previous_page_uri": None,
        "uri": f"{PATH}?To=%2B12025550170",
    }
    told = {"code": 21211, "message": f"The 'To' number {ADA} is not a valid phone number.", "status": 400}
    kept = str(
        (
            redaction.fields(vendor.sent.form or ()),
            redaction.json(listed),
            redaction.json(told),
            redaction.url(f"https://api.twilio.com{PATH}?To=%2B12025550170"),
        )
    )
    assert "2025550170" not in kept
    assert "is cancelled" not in kept
    assert STEP in kept  # the callback's op: what the audit is read for
    assert SID in kept


def test_nothing_of_the_vendors_keeps_a_repeat_away() -> None:
    assert SPEC.operations[Capability.SEND_MESSAGE].idempotency is Idempotency.LOOKUP


# ---------------------------------------------------------------- inbound

TOKEN = "12345"
INBOUND = TwilioInbound(Secret(TOKEN), HOOK)
STATUS = {
    "MessageSid": SID,
    "SmsSid": SID,
    "AccountSid": ACCOUNT,
    "MessageStatus": "delivered",
    "To": ADA,
    "From": "+12025550143",
    "ApiVersion": "2010-04-01",
}
SMS = {
    "MessageSid": SID,
    "AccountSid": ACCOUNT,
    "From": ADA,
    "To": "+12025550143",
    "Body": "Wo ist mein Geld? ✓",
    "NumMedia": "0",
    "SmsStatus": "received",
}
OP = f"op={STEP}"


def by_hand(token: str, message: str) -> str:
    """The signature, written down anew from the vendor's description."""
    return base64.b64encode(hmac.new(token.encode(), message.encode(), hashlib.sha1).digest()).decode()


def delivery(
    fields: dict[str, str], query: str = "", *, address: str = HOOK, token: str = TOKEN, **headers: str
) -> Delivery:
    url = f"{address}?{query}" if query else address
    signed = by_hand(token, url + "".join(name + fields[name] for name in sorted(fields)))
    body = urlencode(fields).encode()
    return Delivery({"x-twilio-signature": signed, **headers}, body, query)


def test_a_callback_is_verified_and_its_topic_carries_the_step_of_the_address() -> None:
    said = INBOUND.verify(delivery(STATUS, OP), NOW)
    assert said == Verified(f"{SID}:delivered", f"status:{STEP}")
    assert isinstance(said, Verified)
    assert INBOUND.read_event(said.topic, urlencode(STATUS).encode()) == MessageSeen(
        "twilio", STEP, MessageStatus.DELIVERED
    )


def test_an_incoming_text_is_verified() -> None:
    assert INBOUND.verify(delivery(SMS), NOW) == Verified(f"{SID}:received", "sms")


def test_a_redelivery_has_the_same_id_whatever_its_headers_say() -> None:
    first, second = (
        INBOUND.verify(delivery(STATUS, OP, **{"i-twilio-idempotency-token": token}), NOW)
        for token in ("a", "b")
    )
    assert first == second


def test_another_status_is_another_event() -> None:
    sent = INBOUND.verify(delivery({**STATUS, "MessageStatus": "sent"}, OP), NOW)
    assert sent == Verified(f"{SID}:sent", f"status:{STEP}")


@pytest.mark.parametrize(
    ("_case", "inbound", "given", "words"),
    [
        ("unsigned", INBOUND, Delivery({}, b"a=b"), "the signature header is missing"),
        ("no token", TwilioInbound(Secret(" , "), HOOK), delivery(STATUS), "no auth token, or no public address, is set"),
        ("no address", TwilioInbound(Secret(TOKEN), ""), delivery(STATUS), "no auth token, or no public address, is set"),
        ("another token", INBOUND, delivery(STATUS, OP, token="54321"), "the signature does not match"),
        ("another address", INBOUND, delivery(STATUS, OP, address="https://evil.example/hooks/twilio"), "the signature does not match"),
        ("another path", INBOUND, delivery(STATUS, OP, address=f"{HOOK}/x"), "the signature does not match"),
        ("another scheme", INBOUND, delivery(STATUS, OP, address=HOOK.replace("https", "http")), "the signature does not match"),
        ("the step was changed", INBOUND, replace(delivery(STATUS, OP), query="op=RF-1.notify.1"), "the signature does not match"),
        ("the query was left out", INBOUND, replace(delivery(STATUS, OP), query=""), "the signature does not match"),
        ("the body was changed", INBOUND,
         replace(delivery(STATUS, OP), body=urlencode({**STATUS, "MessageStatus": "failed"}).encode()), "the signature does not match"),
        ("a field was added", INBOUND, replace(delivery(STATUS, OP), body=urlencode({**STATUS, "ErrorCode": "1"}).encode()),
         "the signature does not match"),
        ("bytes that are no text", INBOUND, Delivery({"x-twilio-signature": "ä\udcff"}, b"\xff=%ff"), "the signature does not match"),
        ("neither a status nor a text", INBOUND, delivery({"CallSid": "CA1"}), "the body is no event"),
        ("no id", INBOUND, delivery({"MessageSid": "", "MessageStatus": "sent"}), "the body is no event"),
    ],
)  # fmt: skip
def test_what_is_not_twilios_is_refused(
    _case: str, inbound: TwilioInbound, given: Delivery, words: str
) -> None:
    assert inbound.verify(given, NOW) == Refused(words)


def test_fields_that_were_signed_in_another_order_are_refused() -> None:
    backwards = HOOK + "".join(name + STATUS[name] for name in sorted(STATUS, reverse=True))
    given = Delivery({"x-twilio-signature": by_hand(TOKEN, backwards)}, urlencode(STATUS).encode())
    assert INBOUND.verify(given, NOW) == Refused("the signature does not match")
    address_last = "".join(name + STATUS[name] for name in sorted(STATUS)) + HOOK
    given = Delivery({"x-twilio-signature": by_hand(TOKEN, address_last)}, urlencode(STATUS).encode())
    assert INBOUND.verify(given, NOW) == Refused("the signature does not match")


def test_the_body_may_come_in_any_order_and_an_empty_field_is_signed_too() -> None:
    fields = {**STATUS, "MessagingServiceSid": ""}
    turned = urlencode(list(reversed(fields.items()))).encode()
    assert isinstance(INBOUND.verify(replace(delivery(fields, OP), body=turned), NOW), Verified)


def test_two_tokens_hold_while_one_is_rotated() -> None:
    both = TwilioInbound(Secret("new,12345"), HOOK)
    for token, verified in (("new", True), ("12345", True), ("gone", False)):
        assert isinstance(both.verify(delivery(STATUS, OP, token=token), NOW), Verified) is verified


def test_callbacks_may_have_an_address_of_their_own() -> None:
    two = TwilioInbound(Secret(TOKEN), HOOK, "https://other.example/cb?shop=1#rc=3")
    ours = delivery(STATUS, f"shop=1&{OP}", address="https://other.example/cb")
    assert two.verify(ours, NOW) == Verified(f"{SID}:delivered", f"status:{STEP}")
    assert isinstance(two.verify(delivery(SMS), NOW), Verified)


@pytest.mark.parametrize(
    ("_case", "configured", "called", "is_ours"),
    [
        ("as configured", HOOK, HOOK, True),
        ("with its usual port", HOOK, HOOK.replace("example", "example:443"), True),
        ("without the port that we have", HOOK.replace("example", "example:8443"), HOOK, True),
        ("with the port that we have", HOOK.replace("example", "example:8443"), HOOK.replace("example", "example:8443"), True),
        ("over http", "http://rf.shop.example/h", "http://rf.shop.example:80/h", True),
        ("another port", HOOK, HOOK.replace("example", "example:444"), False),
    ],
)  # fmt: skip
def test_the_port_may_be_signed_or_not(_case: str, configured: str, called: str, is_ours: bool) -> None:
    said = TwilioInbound(Secret(TOKEN), configured).verify(delivery(STATUS, OP, address=called), NOW)
    assert isinstance(said, Verified) is is_ours


class TestPublishedVectors:
    """The vectors of the vendor's own library (twilio-python 306691e, its validator's tests)."""

    ADDRESS = "https://mycompany.com/myapp.php?foo=1&bar=2"
    CALL = (
        ("CallSid", "CA1234567890ABCDE"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
        ("Caller", "+14158675309"),
    )
    REPEATED = (
        ("Sid", "CA123"),
        ("SidAccount", "AC123"),
        ("Digits", "5678"),
        ("Digits", "1234"),
        ("Digits", "1234"),
    )
    DOCUMENT = b'{"property": "value", "boolean": true}'
    DIGEST = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"

    def test_fields(self) -> None:
        assert signature_of(TOKEN, self.ADDRESS, self.CALL) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="

    def test_repeated_fields_are_taken_once_and_sorted(self) -> None:
        assert signature_of(TOKEN, self.ADDRESS, self.REPEATED) == "IK+Dwps556ElfBT0I3Rgjkr1wJU="

    def test_the_wrong_order_makes_another_signature(self) -> None:
        unsorted = self.ADDRESS + "".join(name + value for name, value in self.CALL)
        assert by_hand(TOKEN, unsorted) != "RSOYDt4T1cUTdK1PDd93/VVr8B8="

    def test_a_port(self) -> None:
        with_port = self.ADDRESS.replace(".com", ".com:443")
        assert signature_of(TOKEN, with_port, self.CALL) == "kvajT1Ptam85bY51eRf/AJRuM3w="

    def test_a_document_is_signed_by_its_digest_in_the_address(self) -> None:
        address = f"{self.ADDRESS}&bodySHA256={self.DIGEST}"
        assert signature_of(TOKEN, address, ()) == "a9nBmqA0ju/hNViExpshrM61xv4="

    @pytest.mark.parametrize("signed", ["RSOYDt4T1cUTdK1PDd93/VVr8B8=", "kvajT1Ptam85bY51eRf/AJRuM3w="])
    def test_a_delivery_of_these_fields_is_twilios_though_nothing_for_us(self, signed: str) -> None:
        inbound = TwilioInbound(Secret(TOKEN), "https://mycompany.com/myapp.php")
        body = urlencode(self.CALL).encode()
        given = Delivery({"x-twilio-signature": signed}, body, "foo=1&bar=2")
        assert inbound.verify(given, NOW) == Refused("the body is no event")
        assert inbound.verify(replace(given, query="foo=1&bar=3"), NOW) == Refused(
            "the signature does not match"
        )

    def test_a_document_is_verified_and_a_changed_one_is_not(self) -> None:
        inbound = TwilioInbound(Secret(TOKEN), "https://mycompany.com/myapp.php")
        given = Delivery(
            {"x-twilio-signature": "a9nBmqA0ju/hNViExpshrM61xv4="},
            self.DOCUMENT,
            f"foo=1&bar=2&bodySHA256={self.DIGEST}",
        )
        assert inbound.verify(given, NOW) == Verified(self.DIGEST, "document")
        assert inbound.read_event("document", self.DOCUMENT) == Irrelevant(
            "a document of Twilio's asks nothing of us"
        )
        changed = replace(given, body=self.DOCUMENT + b" ")
        assert inbound.verify(changed, NOW) == Refused("the body was changed")


@pytest.mark.parametrize(
    ("_case", "changes", "reading"),
    [
        ("delivered", {}, MessageSeen("twilio", STEP, MessageStatus.DELIVERED)),
        ("undelivered", {"MessageStatus": "undelivered", "ErrorCode": "30003"},
         MessageSeen("twilio", STEP, MessageStatus.BOUNCED, "undelivered (30003: the telephone cannot be reached)")),
        ("failed", {"MessageStatus": "failed"}, MessageSeen("twilio", STEP, MessageStatus.BOUNCED, "failed")),
        ("failed because of an opt-out", {"MessageStatus": "failed", "ErrorCode": "21610"},
         MessageSeen("twilio", STEP, MessageStatus.BOUNCED, "failed (21610: the customer has opted out)")),
        ("delivered with a code: the status decides", {"ErrorCode": "30008"}, MessageSeen("twilio", STEP, MessageStatus.DELIVERED)),
        *(
            (status, {"MessageStatus": status}, Irrelevant(f"the message is {status}, and whether it arrives is told by other words"))
            for status in ("accepted", "queued", "sending", "sent", "read", "scheduled")
        ),
    ],
)  # fmt: skip
def test_what_a_callback_says(_case: str, changes: dict[str, str], reading: object) -> None:
    body = urlencode({**STATUS, **changes}).encode()
    assert INBOUND.read_event(f"status:{STEP}", body) == reading


@pytest.mark.parametrize("query", ["", "op=", "op=a%20b", "op=" + "a" * 201, "op=%00", "other=1"])
def test_a_callback_that_names_no_step_is_about_somebody_elses_message(query: str) -> None:
    said = INBOUND.verify(delivery(STATUS, query), NOW)
    assert said == Verified(f"{SID}:delivered", "status:")
    assert isinstance(said, Verified)
    assert INBOUND.read_event(said.topic, urlencode(STATUS).encode()) == Irrelevant(
        "a message is delivered, and its callback names no step of ours"
    )


@pytest.mark.parametrize(
    ("topic", "body", "field"),
    [
        (f"status:{STEP}", b"", "MessageStatus"),
        (f"status:{STEP}", b"MessageStatus=delivered", "MessageSid"),
        (f"status:{STEP}", b"MessageStatus=&MessageSid=SM1", "MessageStatus"),
        (f"status:{STEP}", b"\xff\xfe", "MessageStatus"),
        ("sms", b"Body=x", "MessageSid"),
    ],
)
def test_what_cannot_be_read_names_its_field(topic: str, body: bytes, field: str) -> None:
    with pytest.raises(MalformedError, match="is missing") as caught:
        INBOUND.read_event(topic, body)
    assert caught.value.field == field


OPTED_OUT = Irrelevant(
    "the customer opted out of texts: Twilio itself refuses later ones (CANCEL is such a word too, and no request)"
)
NO_MONEY = Irrelevant(
    "an SMS never moves money: a telephone number proves too little. A person can read it in the Twilio console"
)


@pytest.mark.parametrize("word", [*sorted(STOP_WORDS), " stop\n", "Cancel"])
def test_a_word_that_opts_out_is_no_request(word: str) -> None:
    assert INBOUND.read_event("sms", urlencode({**SMS, "Body": word}).encode()) == OPTED_OUT


def test_the_accounts_own_words_for_opting_out_are_told_by_twilio() -> None:
    own = {**SMS, "Body": "Aufhören", "OptOutType": "STOP"}
    assert INBOUND.read_event("sms", urlencode(own).encode()) == OPTED_OUT


@pytest.mark.parametrize(
    "text", ["Please cancel order 1042 and refund 42.50 EUR", "stop it", "START", "", "ada@customers.example"]
)
def test_any_other_text_moves_nothing_and_is_not_repeated(text: str) -> None:
    assert INBOUND.read_event("sms", urlencode({**SMS, "Body": text}).encode()) == NO_MONEY
