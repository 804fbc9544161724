"""SendGrid against the vendor's published descriptions: what we send, and the answers and deliveries that our readers are
tested on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refundflow.connectors.sendgrid import (
    EVENTS,
    MAIL,
    STATUSES,
    SUPPRESSIONS,
    SendGrid,
    SendGridInbound,
    is_listed,
    read_form,
    read_status,
)
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import StepKey, wire_key
from refundflow.domain.inbound import Irrelevant, MailReceived, MessagesSeen
from refundflow.domain.outcomes import Done, NotFound, Permanent, Retryable, Unknown
from refundflow.transport.base import Request
from tests.support.fake_http import FakeHttp, answer
from tests.support.specs import check_document, check_request, check_response, load, specs

STEP = StepKey("RF-01JQZ7K3M0ABCDE.notify.1")
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to="ada@example.com",
    template="order_cancelled",
    subject="Your order 1001 is cancelled",
    text="Your order 1001 is cancelled.",
    html="<p>Your order 1001 is cancelled.</p>",
)
SENDER = "Shop <orders@sg.shop.example>"
SG_ID = "LRzXl_NHStOGhQ4kofSm_A.recvd-7d8-2"
SEND, LOGS, LOG = "/v3/mail/send", "/v3/logs", "/v3/logs/{sg_message_id}"
NONE_LISTED = (answer(200, []), answer(200, []), answer(200, []), answer(200, {}))


def described(name: str) -> Path:
    return specs("sendgrid") / f"{name}.openapi.json"


def base_event(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "email": "ada@example.com",
        "sg_event_id": "e1",
        "sg_message_id": SG_ID,
        "smtp-id": "<a@geopod>",
        "timestamp": 1795600000,
        "custom_args": {"rf_op": STEP, "rf_key": COMMAND.key},
        **more,
    }


def entry(status: str, *events: dict[str, Any]) -> dict[str, Any]:
    return {
        "from_email": "orders@sg.shop.example",
        "sg_message_id": SG_ID,
        "subject": COMMAND.subject,
        "to_email": COMMAND.to,
        "status": status,
        "api_key_id": "abc",
        "client_ip": "192.0.2.1",
        "category": ["order_cancelled"],
        "custom_args": {"rf_op": STEP, "rf_key": COMMAND.key},
        "events": list(events),
    }


def page(*statuses: str) -> dict[str, Any]:
    return {
        "messages": [
            {
                "from_email": "orders@sg.shop.example",
                "sg_message_id": SG_ID,
                "subject": COMMAND.subject,
                "to_email": COMMAND.to,
                "status": status,
                "reason": "",
                "sg_message_id_created_at": "2026-11-25T09:00:05Z",
            }
            for status in statuses
        ]
    }


def exchange(connector: str, *answers: Any, **changes: Any) -> tuple[Any, FakeHttp]:
    """What the connector made of these answers, and what it had sent for them."""
    vendor = FakeHttp(*answers)
    sendgrid = SendGrid(vendor, vendor, SENDER, "cancel@in.shop.example", **changes)
    return getattr(sendgrid, connector)(COMMAND), vendor


@pytest.mark.parametrize("is_sandbox", [False, True])
def test_a_message_is_what_the_description_allows(is_sandbox: bool) -> None:
    status = 200 if is_sandbox else 202
    outcome, vendor = exchange(
        "send_message", *NONE_LISTED, answer(status, "", {"X-Message-Id": "a"}), is_sandbox=is_sandbox
    )
    assert isinstance(outcome, Done)
    check_request(described("mail"), "POST", SEND, vendor.requests[-1])
    for request, place in zip(vendor.requests, SUPPRESSIONS, strict=False):
        check_request(described("suppressions"), "GET", f"/v3/{place}/{{email}}", request)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_message"), (404, "not_found"), (405, "not_allowed"), (413, "too_large"), (401, "unauthorised"), (403, "unauthorised"), (500, "")],
)  # fmt: skip
def test_every_described_answer_to_a_send_is_read(status: int, code: str) -> None:
    refused = {"errors": [{"message": "Does not contain a valid address.", "field": "from.email"}], "id": "x"}
    check_response(described("mail"), "POST", SEND, status, refused, declared_only=True)
    outcome, _ = exchange("send_message", *NONE_LISTED, answer(status, refused))
    match outcome:
        case Permanent(code=said):
            assert said == code
            assert 400 <= status < 500
        case Retryable(code=said):
            assert (said, code) == ("unauthorised", "unauthorised")
        case _:
            assert (outcome, code) == (Unknown("unreadable answer from SendGrid, status 500"), "")


def test_no_described_answer_to_a_send_is_left_out() -> None:
    answers = load(described("mail"))["paths"][SEND]["post"]["responses"]
    assert set(answers) == {"202", "400", "401", "403", "404", "405", "413", "500"}


@pytest.mark.parametrize(
    ("place", "entries"),
    [
        ("suppression/bounces", [{"created": 1795600000, "email": "ada@example.com", "reason": "550", "status": "5.1.1"}]),
        ("suppression/invalid_emails", [{"created": 1795600000, "email": "ada@example.com", "reason": "x"}]),
        ("suppression/spam_reports", [{"created": 1795600000, "email": "ada@example.com", "ip": "192.0.2.1"}]),
        ("asm/suppressions/global", {"recipient_email": "ada@example.com"}),
    ],
)  # fmt: skip
def test_an_entry_of_every_list_is_one_and_its_absence_is_none(place: str, entries: Any) -> None:
    check_response(
        described("suppressions"), "GET", f"/v3/{place}/{{email}}", 200, entries, declared_only=True
    )
    assert place in SUPPRESSIONS
    assert is_listed(answer(200, entries))
    assert not is_listed(answer(200, type(entries)()))


def test_a_look_asks_and_reads_as_described() -> None:
    spec = described("logs")
    bounce = base_event(
        "bounce", type="bounce", reason="550 5.1.1 no such user", status="5.1.1", ip="192.0.2.1"
    )
    blocked = {**bounce, "type": "blocked"}
    for shown, outcome in (
        (entry("delivered", base_event("delivered", ip="192.0.2.1", response="250 OK")), Done(SG_ID, "delivered")),
        (entry("processed", base_event("processed")), Done(SG_ID, "accepted")),
        (entry("deferred", base_event("deferred", response="450", attempt="1")), Done(SG_ID, "accepted; delivery is being retried")),
        (entry("bounced", bounce), Permanent("bounced", "the message cannot be delivered: 550 5.1.1 no such user")),
        (entry("blocked", blocked), Permanent("blocked", "the message cannot be delivered: 550 5.1.1 no such user")),
        (entry("dropped", base_event("dropped", reason="Unsubscribed Address")),
         Permanent("suppressed", "SendGrid did not send the message: Unsubscribed Address")),
    ):  # fmt: skip
        check_response(spec, "GET", LOG, 200, shown, declared_only=True)
        full = page(shown["status"])
        check_response(spec, "POST", LOGS, 200, full, declared_only=True)
        found, vendor = exchange("find_send_message", answer(200, full), answer(200, shown))
        assert found == outcome
        check_request(spec, "POST", LOGS, vendor.requests[0])
        check_request(spec, "GET", LOG, vendor.requests[1])
    absent, _ = exchange("find_send_message", answer(200, page()))
    assert absent == NotFound(300.0, "no message in SendGrid's logs carries our reference", 259_200.0)


def test_every_described_status_of_a_message_is_known() -> None:
    statuses = load(described("logs"))["components"]["schemas"]["EmailLogsMessageStatus"]["enum"]
    assert len(statuses) == 6
    assert not any(isinstance(read_status(status, SG_ID, ()), Unknown) for status in statuses)


def test_what_a_search_asks_for_is_among_the_fields_and_operators_described() -> None:
    words = load(described("logs"))["components"]["schemas"]["EmailLogsGetMessagesByFilterRequest"]
    assert "- to_email: `=`" in words["properties"]["query"]["description"]
    _, vendor = exchange("find_send_message", answer(200, page()))
    assert vendor.sent.json["query"] == "to_email='ada@example.com'"


@pytest.mark.parametrize("status", [400, 403, 429])
def test_a_look_that_is_refused_as_described_proves_nothing(status: int) -> None:
    refused = {"errors": [{"message": "access forbidden"}]}
    check_response(described("logs"), "POST", LOGS, status, refused, declared_only=True)
    found, _ = exchange("find_send_message", answer(status, refused))
    assert isinstance(found, Unknown)


def test_the_check_asks_as_described() -> None:
    vendor = FakeHttp(answer(200, {"scopes": ["mail.send"]}), answer(200, page()))
    assert SendGrid(vendor, vendor, SENDER).check().is_ok
    # The scopes are described in another document of the vendor's, which is not among ours.
    assert vendor.requests[0] == Request("GET", "/v3/scopes", "sendgrid.check")
    check_request(described("logs"), "POST", LOGS, vendor.requests[1])


def test_every_described_event_is_read_or_passed_over() -> None:
    schema = specs("sendgrid") / "event_webhook.request.schema.json"
    kinds = load(schema)["items"]["properties"]["event"]["enum"]
    assert set(STATUSES) < set(kinds)
    for kind in kinds:
        told = {
            **base_event(kind),
            "rf_op": STEP,
            "type": "blocked",
            "category": ["order_cancelled"],
            "reason": "554",
        }
        check_document(schema, [told])
        read = SendGridInbound().read_event(EVENTS, answer(200, [told]).body)
        assert isinstance(read, MessagesSeen if kind in STATUSES else Irrelevant), kind


def test_signing_is_a_setting_of_both_webhooks() -> None:
    paths = load(described("webhooks"))["paths"]
    assert "/v3/user/webhooks/event/settings/signed/{id}" in paths
    assert "/v3/user/webhooks/security/policies" in paths


FORM = {
    "headers": "From: Ada <ada@example.com>\nMessage-ID: <m1@example.com>\n",
    "dkim": "{@example.com : pass}",
    "to": "cancel@in.shop.example",
    "from": "Ada <ada@example.com>",
    "subject": "Cancel order 1001",
    "text": "Please cancel it.",
    "envelope": '{"to":["cancel@in.shop.example"],"from":"ada@example.com"}',
    "charsets": '{"text":"UTF-8"}',
    "SPF": "pass",
    "sender_ip": "192.0.2.30",
    "spam_score": "0.1",
    "attachments": "0",
}


def test_a_form_as_described_is_read() -> None:
    check_document(specs("sendgrid") / "inbound_parse.request.schema.json", FORM)
    body = (
        "".join(
            f'--xYzZY\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in FORM.items()
        )
        + "--xYzZY--\r\n"
    ).encode()
    assert read_form(body) == {name: value.encode() for name, value in FORM.items()}
    assert SendGridInbound().read_event(MAIL, body) == MailReceived(
        message_id="m1@example.com",
        sender="ada@example.com",
        subject="Cancel order 1001",
        text="Please cancel it.",
        sender_name="Ada",
        is_authenticated=True,
        is_automatic=False,
    )
