"""Twilio against the published descriptions: what we send, and the answers and callbacks that our readers are tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from refundflow.connectors.twilio import ERRORS, Credentials, Twilio, TwilioInbound, build
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import Irrelevant, MessageSeen, MessageStatus
from refundflow.domain.outcomes import Done, NotFound, Permanent, Unknown
from refundflow.flow.compose import MESSAGES, Composer, sample_contexts
from refundflow.settings import Secret
from tests.support.fake_http import FakeHttp, FakeWire, answer
from tests.support.specs import check_document, check_request, check_response, specs

STEP = StepKey("RF-1MQ7ZK3M0ABCDEF.notify.3")
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
SERVICE = "MG0123456789abcdef0123456789abcdef"
SID = "SM0123456789abcdef0123456789abcdef"
TO = "+12025550170"
LIST = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
HOOK = "https://rf.shop.example/hooks/twilio"


def description() -> Path:
    return specs("twilio") / "twilio_messages.openapi.json"


def command(template: str = "order_cancelled") -> SendMessage:
    """A text as it is really written."""
    written = Composer().compose(template, "sms", sample_contexts(template)[0])
    return SendMessage(
        step_key=STEP, key=wire_key(STEP, 1), to=TO, template=template, subject="", text=written.text
    )


def twilio(vendor: FakeHttp, *, service: str = "") -> Twilio:
    credentials = Credentials(
        ACCOUNT,
        api_key="SK0123456789abcdef0123456789abcdef",
        api_secret=Secret("x"),
        sender="" if service else "+12025550143",
        messaging_service_sid=service,
        webhook_url=HOOK,
    )
    return build(credentials, FakeWire(vendor))


def resource(body: str, **changes: Any) -> dict[str, Any]:
    """A message as the description has it, every property there."""
    return {
        "body": body,
        "num_segments": "1",
        "direction": "outbound-api",
        "from": "+12025550143",
        "to": TO,
        "date_updated": "Wed, 25 Nov 2026 12:00:00 +0000",
        "price": None,
        "error_message": None,
        "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json",
        "account_sid": ACCOUNT,
        "num_media": "0",
        "status": "queued",
        "messaging_service_sid": None,
        "sid": SID,
        "date_sent": None,
        "date_created": "Wed, 25 Nov 2026 12:00:00 +0000",
        "error_code": None,
        "price_unit": "USD",
        "api_version": "2010-04-01",
        "subresource_uris": {"media": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}/Media.json"},
        **changes,
    }


def listing(*messages: dict[str, Any], next_page_uri: str | None = None) -> dict[str, Any]:
    here = LIST.format(AccountSid=ACCOUNT)
    return {
        "end": max(len(messages) - 1, 0),
        "first_page_uri": f"{here}?To=%2B12025550170&PageSize=500&Page=0",
        "next_page_uri": next_page_uri,
        "page": 0,
        "page_size": 500,
        "previous_page_uri": None,
        "start": 0,
        "uri": f"{here}?To=%2B12025550170&PageSize=500&Page=0",
        "messages": list(messages),
    }


def body_sent(vendor: FakeHttp) -> str:
    return dict(vendor.sent.form or ())["Body"]


@pytest.mark.parametrize("template", MESSAGES["sms"])
@pytest.mark.parametrize("service", ["", SERVICE])
def test_a_text_is_sent_and_its_answer_read_as_described(template: str, service: str) -> None:
    spec = description()
    made = resource(
        "x",
        status="accepted" if service else "queued",
        messaging_service_sid=service or None,
        num_segments="0" if service else "1",
        **({"from": None} if service else {}),
    )
    check_response(spec, "POST", LIST, 201, made, declared_only=True)
    vendor = FakeHttp(answer(201, made))
    outcome = twilio(vendor, service=service).send_message(command(template))
    check_request(spec, "POST", LIST, vendor.sent)
    assert isinstance(outcome, Done), outcome
    assert outcome.reference == SID
    assert body_sent(vendor).endswith(" Ref RF-1MQ7ZK3M0ABCDEF-3")


@pytest.mark.parametrize("template", MESSAGES["sms"])
def test_our_own_texts_fit_into_what_is_allowed_and_into_the_plain_alphabet(template: str) -> None:
    for words in sample_contexts(template):
        written = Composer().compose(template, "sms", words).text
        made = resource("x")
        outcome = twilio(FakeHttp(answer(201, made))).send_message(
            SendMessage(
                step_key=STEP, key=wire_key(STEP, 1), to=TO, template=template, subject="", text=written
            )
        )
        assert isinstance(outcome, Done), outcome


def test_every_described_status_of_a_message_is_read() -> None:
    spec = description()
    described = json.loads(spec.read_text(encoding="utf-8"))
    statuses = set(described["components"]["schemas"]["message_enum_status"]["enum"])
    read: dict[type, set[str]] = {Done: set(), Permanent: set(), Unknown: set()}
    for status in statuses:
        made = resource("x", status=status)
        check_response(spec, "POST", LIST, 201, made)
        read[type(twilio(FakeHttp(answer(201, made))).send_message(command()))].add(status)
    assert read[Permanent] == {"failed", "undelivered", "canceled"}
    # These two are said of what customers send, never of ours.
    assert read[Unknown] == {"receiving", "received"}
    assert read[Done] == statuses - read[Permanent] - read[Unknown]


def test_a_look_asks_and_reads_as_described() -> None:
    spec = description()
    ours = resource("A Shop: cancelled. Ref RF-1MQ7ZK3M0ABCDEF-3", status="sent")
    strangers = [
        resource("hello"),
        resource("A Shop: cancelled. Ref RF-1MQ7ZK3M0ABCDEF-3", direction="inbound", status="received"),
    ]
    for messages, found in (
        ([*strangers, ours], Done(SID, "sent; 1 segment (GSM-7)")),
        (
            strangers,
            NotFound(120.0, "no message to this number carries our reference", 2_592_000.0),
        ),
    ):
        page = listing(*messages)
        check_response(spec, "GET", LIST, 200, page, declared_only=True)
        vendor = FakeHttp(answer(200, page))
        assert twilio(vendor).find_send_message(command()) == found
        check_request(spec, "GET", LIST, vendor.sent)


def test_a_second_page_is_asked_for_as_described() -> None:
    spec = description()
    here = LIST.format(AccountSid=ACCOUNT)
    first = listing(
        resource("hello"), next_page_uri=f"{here}?To=%2B12025550170&PageSize=500&Page=1&PageToken=PA{SID}"
    )
    check_response(spec, "GET", LIST, 200, first, declared_only=True)
    vendor = FakeHttp(answer(200, first), answer(200, listing()))
    twilio(vendor).find_send_message(command())
    assert len(vendor.requests) == 2
    check_request(spec, "GET", LIST, vendor.requests[1])


def test_the_check_asks_and_reads_as_described() -> None:
    spec = description()
    page = listing(resource("hello"))
    check_response(spec, "GET", LIST, 200, page)
    vendor = FakeHttp(answer(200, page))
    assert twilio(vendor).check().is_ok
    check_request(spec, "GET", LIST, vendor.sent)


@pytest.mark.parametrize("code", [*sorted(ERRORS), 21999])
def test_errors_are_read_in_the_described_shape(code: int) -> None:
    refused = {
        "code": code,
        "message": "no",
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": 400,
    }
    check_document(specs("twilio") / "error.response.schema.json", refused)
    outcome = twilio(FakeHttp(answer(400, refused))).send_message(command())
    assert outcome == ERRORS.get(code, Permanent("21999", "no"))


def test_every_described_status_of_a_callback_is_read() -> None:
    schema = specs("twilio") / "status_callback.request.schema.json"
    statuses = json.loads(schema.read_text(encoding="utf-8"))["properties"]["MessageStatus"]["enum"]
    inbound = TwilioInbound(Secret("12345"), HOOK)
    seen: dict[str, MessageStatus] = {}
    for status in statuses:
        form = {
            "MessageSid": SID,
            "SmsSid": SID,
            "AccountSid": ACCOUNT,
            "MessagingServiceSid": SERVICE,
            "MessageStatus": status,
            "SmsStatus": status,
            "To": TO,
            "From": "+12025550143",
            "ApiVersion": "2010-04-01",
            "RawDlrDoneDate": "2611251200",
        }
        check_document(schema, form)
        match inbound.read_event(f"status:{STEP}", urlencode(form).encode()):
            case MessageSeen(step_key=step_key, status=said):
                assert step_key == STEP
                seen[status] = said
            case reading:
                assert isinstance(reading, Irrelevant)
    assert seen == {
        "delivered": MessageStatus.DELIVERED,
        "undelivered": MessageStatus.BOUNCED,
        "failed": MessageStatus.BOUNCED,
    }


@pytest.mark.parametrize("more", [{"Body": "STOP", "OptOutType": "STOP"}, {"Body": "Please refund me"}])
def test_an_incoming_text_is_read_as_described(more: dict[str, str]) -> None:
    form = {
        "MessageSid": SID,
        "SmsSid": SID,
        "AccountSid": ACCOUNT,
        "From": TO,
        "To": "+12025550143",
        "NumMedia": "0",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
        **more,
    }
    check_document(specs("twilio") / "status_callback.request.schema.json", form)
    reading = TwilioInbound(Secret("12345"), HOOK).read_event("sms", urlencode(form).encode())
    assert isinstance(reading, Irrelevant)
