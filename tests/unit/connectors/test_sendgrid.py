"""SendGrid: what one message is sent as, how it is found again in the logs, and what a delivery proves and says."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from refundflow.connectors.base import Capability, Health, Idempotency
from refundflow.connectors.sendgrid import (
    EVENTS,
    MAIL,
    SPEC,
    SUPPRESSIONS,
    Credentials,
    SendGrid,
    SendGridInbound,
    build,
    is_aligned,
    read_form,
    read_keys,
    text_of,
)
from refundflow.domain.commands import SendMessage
from refundflow.domain.ids import case_of, mint_case_id, mint_step_key, wire_key
from refundflow.domain.inbound import (
    Delivery,
    Greeting,
    Irrelevant,
    MailReceived,
    MalformedError,
    MessageSeen,
    MessagesSeen,
    MessageStatus,
    Refused,
    Verified,
)
from refundflow.domain.outcomes import Done, Found, NotFound, Outcome, Permanent, Retryable, Unknown
from refundflow.settings import Secret
from refundflow.transport.base import MaybeSentError, Response
from refundflow.transport.redact import Redaction
from tests.support.fake_http import FakeHttp, FakeWire, answer

OPENED = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
STEP = mint_step_key(mint_case_id(OPENED, 77), "notify", 1)
SENDER = "Shop <orders@sg.shop.example>"
MESSAGE_ID = f"refundflow.{STEP}.1@sg.shop.example"
SG_ID = "LRzXl_NHStOGhQ4kofSm_A.recvd-7d8-2"
COMMAND = SendMessage(
    step_key=STEP,
    key=wire_key(STEP, 1),
    to="ada@example.com",
    template="refund_sent",
    subject="Your refund",
    text="We sent 42.50 EUR back.",
    html="<p>We sent 42.50 EUR back.</p>",
)
ADVICE = "check REFUNDFLOW_SENDGRID_API_KEY, its scope mail.send, that the sender is verified, and that the region's host is used"
READ_ADVICE = "give a key that may read messages and suppressions (REFUNDFLOW_SENDGRID_READ_KEY)"
ABSENT = NotFound(300.0, "no message in SendGrid's logs carries our reference", 259_200.0)

NONE_LISTED = (answer(200, []), answer(200, []), answer(200, []), answer(200, {}))


def sendgrid(vendor: FakeHttp, reader: FakeHttp | None = None, **changes: Any) -> SendGrid:
    """One key for both, unless a reader is given."""
    return SendGrid(vendor, reader or vendor, SENDER, **changes)


def errors(*told: tuple[str, str | None]) -> dict[str, Any]:
    return {"errors": [{"message": message, "field": field, "help": None} for message, field in told]}


def listed(**changes: Any) -> dict[str, Any]:
    """One message as the logs list it."""
    return {
        "from_email": "orders@sg.shop.example",
        "sg_message_id": SG_ID,
        "subject": "Your refund",
        "to_email": "ada@example.com",
        "status": "delivered",
        "sg_message_id_created_at": "2026-11-25T09:00:05Z",
        **changes,
    }


def entry(status: str = "delivered", **changes: Any) -> dict[str, Any]:
    """The same message, opened."""
    return {
        "sg_message_id": SG_ID,
        "status": status,
        "subject": "Your refund",
        "to_email": "ada@example.com",
        "custom_args": {"rf_op": STEP, "rf_key": COMMAND.key},
        "events": [{"event": "processed", "sg_event_id": "e1", "smtp-id": "<other@geopod>"}],
        **changes,
    }


def page(*messages: Any) -> Response:
    return answer(200, {"messages": list(messages)})


# ---------------------------------------------------------------- sending


def test_a_message_is_sent_with_our_reference_in_the_arguments_and_the_message_id_and_without_tracking() -> (
    None
):
    vendor = FakeHttp(*NONE_LISTED, answer(202, "", {"X-Message-Id": "LRzXl_NHStOGhQ4kofSm_A"}))
    assert sendgrid(vendor).send_message(COMMAND) == Done("LRzXl_NHStOGhQ4kofSm_A", "accepted")
    assert vendor.calls == [
        "GET /v3/suppression/bounces/ada@example.com",
        "GET /v3/suppression/invalid_emails/ada@example.com",
        "GET /v3/suppression/spam_reports/ada@example.com",
        "GET /v3/asm/suppressions/global/ada@example.com",
        "POST /v3/mail/send",
    ]
    assert vendor.requests[-1].json == {
        "personalizations": [
            {
                "to": [{"email": "ada@example.com"}],
                "custom_args": {"rf_op": STEP, "rf_key": f"refundflow:{STEP}:1", "rf_case": case_of(STEP)},
            }
        ],
        "from": {"email": "orders@sg.shop.example", "name": "Shop"},
        "subject": "Your refund",
        "headers": {
            "Message-ID": f"<{MESSAGE_ID}>",
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
            "X-Refundflow-Loop": case_of(STEP),
        },
        "content": [
            {"type": "text/plain", "value": "We sent 42.50 EUR back."},
            {"type": "text/html", "value": "<p>We sent 42.50 EUR back.</p>"},
        ],
        "categories": ["refund_sent"],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
        },
    }


def test_what_a_message_does_not_have_is_not_sent() -> None:
    vendor = FakeHttp(*NONE_LISTED, answer(202, "", {"X-Message-Id": "a"}))
    SendGrid(vendor, vendor, "orders@sg.shop.example", "cancel@in.shop.example").send_message(
        replace(COMMAND, html="")
    )
    sent = vendor.requests[-1].json
    assert sent["content"] == [{"type": "text/plain", "value": "We sent 42.50 EUR back."}]
    assert sent["from"] == {"email": "orders@sg.shop.example"}
    assert sent["reply_to"] == {"email": "cancel@in.shop.example"}
    assert "mail_settings" not in sent


def test_the_message_id_is_the_same_for_every_try_with_one_key_and_new_with_a_new_key() -> None:
    vendor = FakeHttp(always=answer(500))
    for command in (COMMAND, COMMAND, replace(COMMAND, key=wire_key(STEP, 2))):
        sendgrid(vendor).send_message(command)
    sent = [r.json["headers"]["Message-ID"] for r in vendor.requests if r.path == "/v3/mail/send"]
    assert sent == [f"<{MESSAGE_ID}>", f"<{MESSAGE_ID}>", f"<refundflow.{STEP}.2@sg.shop.example>"]


@pytest.mark.parametrize(
    "to",
    [
        "",
        "ada",
        "ada@example.com, bob@example.com",
        "ada@example.com;bob@x.y",
        "Ada <ada@example.com>",
        "a@b\nc@d",
    ],
)
def test_anything_but_one_address_is_refused_and_nothing_is_called(to: str) -> None:
    vendor = FakeHttp()
    assert sendgrid(vendor).send_message(replace(COMMAND, to=to)) == Permanent(
        "invalid_recipient", "the message is not addressed to exactly one e-mail address"
    )
    assert vendor.requests == []


@pytest.mark.parametrize(
    ("place", "suppression", "found"),
    [
        (0, "suppression/bounces", [{"created": 1, "email": "ada@example.com", "reason": "550", "status": "5.1.1"}]),
        (1, "suppression/invalid_emails", [{"created": 1, "email": "ada@example.com", "reason": "x"}]),
        (2, "suppression/spam_reports", [{"created": 1, "email": "ada@example.com", "ip": "192.0.2.1"}]),
        (3, "asm/suppressions/global", {"recipient_email": "ada@example.com"}),
    ],
)  # fmt: skip
def test_to_a_suppressed_address_nothing_is_sent(place: int, suppression: str, found: Any) -> None:
    reader = FakeHttp(*NONE_LISTED[:place], answer(200, found))
    sender = FakeHttp()
    assert sendgrid(sender, reader).send_message(COMMAND) == Permanent(
        "suppressed", SUPPRESSIONS[suppression]
    )
    assert sender.requests == []
    assert reader.is_drained


@pytest.mark.parametrize("unread", [answer(403, errors(("access forbidden", None))), answer(500), answer(200, "<html>"),
                                    answer(404, errors(("not found", None))), answer(200, [None])])  # fmt: skip
def test_a_list_that_cannot_be_read_holds_no_message_up(unread: Response) -> None:
    sender = FakeHttp(answer(202, "", {"X-Message-Id": "a"}))
    assert sendgrid(sender, FakeHttp(always=unread)).send_message(COMMAND) == Done("a", "accepted")


def test_an_address_is_looked_up_in_the_lists_as_one_segment_of_the_path() -> None:
    vendor = FakeHttp(always=answer(500))
    sendgrid(vendor).send_message(replace(COMMAND, to="Ada+x/y?z@Example.com"))
    assert vendor.requests[0].path == "/v3/suppression/bounces/ada%2Bx%2Fy%3Fz@example.com"


@pytest.mark.parametrize(
    ("_case", "response", "outcome"),
    [
        ("bad field", answer(400, errors(("Does not contain a valid address.", "personalizations.0.to.0.email"), ("The subject is required.", "subject"))),
         Permanent("invalid_message", "personalizations.0.to.0.email: Does not contain a valid address.; subject: The subject is required. (SendGrid cannot take the message as it is)")),
        ("an address in the words", answer(400, errors(("We found the first duplicate instance of [ada@example.com] in it.", None))),
         Permanent("invalid_message", "We found the first duplicate instance of (address) in it. (SendGrid cannot take the message as it is)")),
        ("errors without words", answer(400, {"errors": [None]}), Permanent("invalid_message", "no reason given (SendGrid cannot take the message as it is)")),
        ("wrong key", answer(401, errors(("The provided authorization grant is invalid, expired, or revoked", None))),
         Retryable("unauthorised", f"SendGrid refused the call (The provided authorization grant is invalid, expired, or revoked): {ADVICE}")),
        ("a sender that is not verified", answer(403, errors(("The from address does not match a verified Sender Identity.", "from"))),
         Retryable("unauthorised", f"SendGrid refused the call (from: The from address does not match a verified Sender Identity.): {ADVICE}")),
        ("forbidden by something in between", answer(403, "<html>"), Retryable("unauthorised", f"SendGrid refused the call: {ADVICE}")),
        ("no such path", answer(404, errors(("not found", None))), Permanent("not_found", "not found (is base_url SendGrid's address?)")),
        ("no such method", answer(405, errors(("method not allowed", None))), Permanent("not_allowed", "method not allowed (is base_url SendGrid's address?)")),
        ("too large", answer(413, ""), Permanent("too_large", "SendGrid takes no message of this size")),
        ("slow down", answer(429, errors(("too many requests", None)), {"Retry-After": "7"}), Retryable("throttled", "SendGrid asks us to slow down", 7.0)),
        ("slow down until", answer(429, "", {"X-RateLimit-Reset": "1795600030", "Date": "Wed, 25 Nov 2026 09:46:40 GMT"}),
         Retryable("throttled", "SendGrid asks us to slow down", 30.0)),
        ("slow down until it is over", answer(429, "", {"X-RateLimit-Reset": "1795600000", "Date": "Wed, 25 Nov 2026 09:46:40 GMT"}),
         Retryable("throttled", "SendGrid asks us to slow down")),
        ("slow down, by no clock", answer(429, "", {"X-RateLimit-Reset": "1795600030"}), Retryable("throttled", "SendGrid asks us to slow down")),
        ("slow down, by a strange clock", answer(429, "", {"X-RateLimit-Reset": "1795600030", "Date": "today"}), Retryable("throttled", "SendGrid asks us to slow down")),
        ("server error", answer(500, errors(("internal server error", None))), Unknown("unreadable answer from SendGrid, status 500")),
        ("bad gateway", answer(502, "<html>"), Unknown("unreadable answer from SendGrid, status 502")),
        ("unavailable", answer(503, ""), Unknown("unreadable answer from SendGrid, status 503")),
        ("a page instead of a yes", answer(202, "<html>", {"X-Message-Id": "a"}), Unknown("unreadable answer from SendGrid, status 202")),
        ("a yes without an id", answer(202, ""), Unknown("unreadable answer from SendGrid, status 202")),
        ("the yes of sandbox mode, which is off", answer(200, "", {"X-Message-Id": "a"}), Unknown("unreadable answer from SendGrid, status 200")),
        ("a 400 that is no JSON", answer(400, "Bad Request"), Unknown("unreadable answer from SendGrid, status 400")),
        ("a 400 of another shape", answer(400, {"errors": []}), Unknown("unreadable answer from SendGrid, status 400")),
        ("a 404 from somebody else", answer(404, "<html>nginx</html>"), Unknown("unreadable answer from SendGrid, status 404")),
    ],
)  # fmt: skip
def test_answers_to_a_send(_case: str, response: Response, outcome: Outcome) -> None:
    sender = FakeHttp(response)
    assert sendgrid(sender, FakeHttp(*NONE_LISTED)).send_message(COMMAND) == outcome
    assert len(sender.requests) == 1


def test_a_lost_answer_reaches_the_caller_as_the_wire_tells_it() -> None:
    sender = FakeHttp(MaybeSentError("read timeout"))
    with pytest.raises(MaybeSentError):
        sendgrid(sender, FakeHttp(*NONE_LISTED)).send_message(COMMAND)


def test_in_sandbox_mode_a_message_is_checked_and_a_look_finds_that_nothing_was_sent() -> None:
    sender = FakeHttp(answer(200, ""))
    rehearsing = sendgrid(sender, FakeHttp(*NONE_LISTED), is_sandbox=True)
    assert rehearsing.send_message(COMMAND) == Done("", "sandbox mode: checked, and not sent")
    assert sender.sent.json["mail_settings"] == {"sandbox_mode": {"enable": True}}
    assert rehearsing.find_send_message(COMMAND) == NotFound(
        0.0, "in sandbox mode nothing is ever sent, so it can be checked once more"
    )


def test_what_is_kept_of_a_call_names_nobody_and_quotes_nothing() -> None:
    vendor = FakeHttp(*NONE_LISTED, answer(202, "", {"X-Message-Id": "a"}), page())
    sendgrid(vendor, reply_to="cancel@in.shop.example").send_message(COMMAND)
    sendgrid(vendor).find_send_message(COMMAND)
    masks = Redaction(SPEC.redact)
    kept = " ".join(f"{masks.url(r.path)} {masks.json(r.json)}" for r in vendor.requests)
    for word in ("ada@example.com", "42.50", "Your refund", "orders@", "cancel@"):
        assert word not in kept, word
    assert f"{STEP}" in kept


# ---------------------------------------------------------------- looking


def test_a_look_lists_the_recipients_messages_and_opens_them() -> None:
    vendor = FakeHttp(page(listed()), answer(200, entry()))
    assert sendgrid(FakeHttp(), vendor).find_send_message(COMMAND) == Done(SG_ID, "delivered")
    assert vendor.calls == ["POST /v3/logs", f"GET /v3/logs/{SG_ID}"]
    assert vendor.requests[0].json == {"query": "to_email='ada@example.com'", "limit": 200}


def test_an_address_with_capitals_is_looked_for_in_both_spellings() -> None:
    vendor = FakeHttp(page(), page(listed()), answer(200, entry()))
    found = sendgrid(vendor).find_send_message(replace(COMMAND, to="Ada@Example.com"))
    assert found == Done(SG_ID, "delivered")
    asked = [r.json["query"] for r in vendor.requests[:2]]
    assert asked == ["to_email='Ada@Example.com'", "to_email='ada@example.com'"]


def test_messages_of_our_subject_are_opened_first_and_older_ones_than_the_case_never() -> None:
    others = [
        listed(sg_message_id="old", sg_message_id_created_at="2026-11-25T08:49:59Z"),
        listed(sg_message_id="other", subject="Newsletter"),
        listed(sg_message_id="strange", subject="Newsletter", sg_message_id_created_at="last week"),
        listed(sg_message_id="early", sg_message_id_created_at="2026-11-25T08:50:00.123+00:00"),
        listed(sg_message_id="ours"),
    ]
    vendor = FakeHttp(
        page(*others),
        *(
            answer(200, entry(sg_message_id=id, custom_args={}))
            for id in ("early", "ours", "other", "strange")
        ),
    )
    assert sendgrid(vendor).find_send_message(COMMAND) == ABSENT
    assert vendor.calls[1:] == [f"GET /v3/logs/{id}" for id in ("early", "ours", "other", "strange")]


def test_more_messages_than_can_be_opened_prove_nothing() -> None:
    many = [listed(sg_message_id=f"m{n}") for n in range(21)]
    opened = [answer(200, entry(sg_message_id=f"m{n}", custom_args={})) for n in range(20)]
    vendor = FakeHttp(page(*many), *opened)
    assert sendgrid(vendor).find_send_message(COMMAND) == Unknown(
        "the recipient has more messages in SendGrid's logs than can be looked through"
    )
    assert vendor.is_drained


def test_a_list_that_is_cut_off_proves_nothing() -> None:
    old = [listed(sg_message_id=f"m{n}", sg_message_id_created_at="2026-11-01T00:00:00Z") for n in range(200)]
    assert sendgrid(FakeHttp(page(*old))).find_send_message(COMMAND) == Unknown(
        "the recipient has more messages in SendGrid's logs than can be looked through"
    )


def test_of_an_address_with_a_quotation_mark_absence_proves_nothing() -> None:
    command = replace(COMMAND, to="o'brien@example.com")
    vendor = FakeHttp(page())
    assert sendgrid(vendor).find_send_message(command) == NotFound(
        None, "SendGrid does not tell how an address with a quotation mark is searched"
    )
    assert vendor.sent.json["query"] == "to_email='o''brien@example.com'"
    found = FakeHttp(page(listed()), answer(200, entry()))
    assert sendgrid(found).find_send_message(command) == Done(SG_ID, "delivered")


def test_of_two_tries_under_one_key_the_one_that_got_through_counts() -> None:
    two = page(listed(sg_message_id="m1"), listed(sg_message_id="m2"))
    vendor = FakeHttp(
        two,
        answer(200, entry("blocked", sg_message_id="m1")),
        answer(200, entry("delivered", sg_message_id="m2")),
    )
    assert sendgrid(vendor).find_send_message(COMMAND) == Done("m2", "delivered")


def bounce(reason: str) -> dict[str, Any]:
    return {"event": "bounce", "type": "bounce", "reason": reason, "sg_event_id": "e2"}


OURS_IN_EVENT = [{"event": "processed", "custom_args": {"rf_op": STEP, "rf_key": COMMAND.key}}]
OURS_BY_ID = [{"event": "processed", "smtp-id": f"<{MESSAGE_ID}>"}]


@pytest.mark.parametrize(
    ("_case", "shown", "outcome"),
    [
        ("delivered", entry("delivered"), Done(SG_ID, "delivered")),
        ("processed", entry("processed"), Done(SG_ID, "accepted")),
        ("deferred", entry("deferred"), Done(SG_ID, "accepted; delivery is being retried")),
        ("bounced", entry("bounced", events=[bounce("550 5.1.1 <ada@example.com>: no such user")]),
         Permanent("bounced", "the message cannot be delivered: 550 5.1.1 (address) no such user")),
        ("blocked", entry("blocked", events=[bounce("554 5.7.1 not accepted")]), Permanent("blocked", "the message cannot be delivered: 554 5.7.1 not accepted")),
        ("bounced without a word", entry("bounced"), Permanent("bounced", "the message cannot be delivered: no reason given")),
        ("suppressed", entry("dropped", events=[{"event": "dropped", "reason": "Bounced Address"}]),
         Permanent("suppressed", "SendGrid did not send the message: Bounced Address")),
        ("unsubscribed", entry("dropped", events=[{"event": "dropped", "reason": "Unsubscribed Address"}]),
         Permanent("suppressed", "SendGrid did not send the message: Unsubscribed Address")),
        ("dropped for another reason", entry("dropped", events=[{"event": "dropped", "reason": "Recipient List over Package Quota"}]),
         Permanent("dropped", "SendGrid did not send the message: Recipient List over Package Quota")),
        ("a status that we do not know", entry("teleported"), Unknown("SendGrid knows the message and says only 'teleported' about it")),
        ("only an event carries our arguments", entry(custom_args=None, events=OURS_IN_EVENT), Done(SG_ID, "delivered")),
        ("only our Message-ID is there", entry(custom_args={}, events=OURS_BY_ID), Done(SG_ID, "delivered")),
        ("only the step is told", entry(custom_args={"rf_op": STEP}), Done(SG_ID, "delivered")),
        ("an earlier key bounced", entry("bounced", custom_args={"rf_op": STEP, "rf_key": "refundflow:x:0"}), ABSENT),
        ("another step", entry(custom_args={"rf_op": "RF-0.notify.1"}), ABSENT),
        ("step 1 is not step 11", entry(custom_args={"rf_op": f"{STEP}1"}), ABSENT),
        ("arguments of another shape", entry(custom_args=[1], events=[None]), ABSENT),
        ("another message", entry(sg_message_id="someone-else"), Unknown("unreadable answer from SendGrid, status 200")),
        ("without events", entry(events=None), Unknown("unreadable answer from SendGrid, status 200")),
    ],
)  # fmt: skip
def test_what_a_log_entry_says_about_a_message(_case: str, shown: dict[str, Any], outcome: Found) -> None:
    vendor = FakeHttp(page(listed()), answer(200, shown))
    assert sendgrid(vendor).find_send_message(COMMAND) == outcome
    assert vendor.is_drained


@pytest.mark.parametrize(
    ("_case", "response", "why"),
    [
        ("a key that may not", answer(401, ""), f"SendGrid did not let us look for the message: {READ_ADVICE}"),
        ("forbidden", answer(403, errors(("access forbidden", None))), f"SendGrid did not let us look for the message: {READ_ADVICE}"),
        ("slow down", answer(429, ""), "SendGrid asks us to slow down, so the look for the message has to wait"),
        ("a query that it cannot read", answer(400, errors(("invalid query", "query"))), "unreadable answer from SendGrid, status 400"),
        ("not there", answer(404, errors(("message not found", None))), "unreadable answer from SendGrid, status 404"),
        ("server error", answer(500, ""), "unreadable answer from SendGrid, status 500"),
        ("HTML", answer(200, "<html>"), "unreadable answer from SendGrid, status 200"),
        ("no list", answer(200, {"messages": None}), "unreadable answer from SendGrid, status 200"),
        ("no message", answer(200, {"messages": [7]}), "unreadable answer from SendGrid, status 200"),
        ("no id", answer(200, {"messages": [{"sg_message_id": ""}]}), "unreadable answer from SendGrid, status 200"),
    ],
)  # fmt: skip
def test_a_look_that_failed_proves_nothing(_case: str, response: Response, why: str) -> None:
    assert sendgrid(FakeHttp(response)).find_send_message(COMMAND) == Unknown(why)
    opened = FakeHttp(page(listed()), response)
    assert sendgrid(opened).find_send_message(COMMAND) == Unknown(why)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("_case", "answers", "health"),
    [
        ("well", (answer(200, {"scopes": ["mail.send"]}), page()), Health(True, "SendGrid answers, and what was sent can be looked up")),
        ("may not send", (answer(200, {"scopes": ["messages.read"]}),), Health(False, "the SendGrid key may not send: give it the scope mail.send")),
        ("wrong key", (answer(401, ""),), Health(False, f"SendGrid refused the key: {ADVICE}")),
        ("down", (answer(503, ""),), Health(False, "SendGrid answered with status 503")),
        ("may not look", (answer(200, {"scopes": ["mail.send"]}), answer(403, "")),
         Health(False, f"SendGrid would send, and does not let us look anything up: {READ_ADVICE}")),
        ("no logs", (answer(200, {"scopes": ["mail.send"]}), answer(500, "")), Health(False, "SendGrid answered with status 500 when asked for its logs")),
    ],
)  # fmt: skip
def test_check(_case: str, answers: Sequence[Response], health: Health) -> None:
    vendor = FakeHttp(*answers)
    assert sendgrid(vendor).check() == health
    assert vendor.is_drained


def test_a_check_says_when_nothing_would_be_sent() -> None:
    vendor = FakeHttp(answer(200, {"scopes": ["mail.send"]}), page())
    assert (
        sendgrid(vendor, is_sandbox=True)
        .check()
        .detail.endswith("sandbox mode: messages are checked and not sent")
    )


def test_each_key_has_its_own_connection_to_the_same_host() -> None:
    wire = FakeWire()
    build(
        Credentials(
            Secret("SG.send"), SENDER, read_key=Secret("SG.read"), base_url="https://api.eu.sendgrid.com/"
        ),
        wire,
    )
    made = [(m["base_url"], m["headers"], m["platform"]) for m in wire.made]
    host = "https://api.eu.sendgrid.com"
    assert made == [
        (host, {"Authorization": "Bearer SG.send"}, "sendgrid"),
        (host, {"Authorization": "Bearer SG.read"}, "sendgrid"),
    ]
    assert all(m["redact"] == {"content", "subject"} for m in wire.made)
    alone = FakeWire()
    built = build(Credentials(Secret("SG.send"), SENDER, sandbox="yes"), alone)
    assert (len(alone.made), built.is_sandbox) == (1, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sender": "Shop"}, "sender is one address"),
        ({"sender": "a@b.example, c@d.example"}, "sender is one address"),
        ({"reply_to": "Shop <a@b.example>"}, "reply_to is one address"),
        ({"sandbox": "true"}, "sandbox is yes or no, not 'true'"),
        ({"event_public_key": "c2VjcmV0"}, "event_public_key is no public key"),
        ({"parse_public_key": "no base64!"}, "parse_public_key is no public key"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, str], words: str) -> None:
    given: dict[str, Any] = {"api_key": Secret("SG.x"), "sender": SENDER, **changes}
    with pytest.raises(ValueError, match=words):
        Credentials(**given)


def test_nothing_keeps_a_repeat_from_sending_twice_so_a_look_is_declared() -> None:
    operation = SPEC.operations[Capability.SEND_MESSAGE]
    assert (operation.idempotency, operation.key_lifetime_h) == (Idempotency.LOOKUP, None)


# ---------------------------------------------------------------- signatures

EVENT_KEY = ec.generate_private_key(ec.SECP256R1())
PARSE_KEY = ec.generate_private_key(ec.SECP256R1())
#: The vector of the vendor's Python library, test/unit/test_eventwebhook.py.
VECTOR_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
VECTOR_SIGNATURE = (
    "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
)
VECTOR_BODY = (
    json.dumps(
        [
            {
                "email": "hello@world.com",
                "event": "dropped",
                "reason": "Bounced Address",
                "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
                "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
                "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
                "timestamp": 1600112492,
            }
        ],
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    + b"\r\n"
)
VECTOR_TIME = datetime.fromtimestamp(1600112502, UTC)


def public(key: ec.EllipticCurvePrivateKey) -> str:
    form = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(form).decode()


def signed(
    body: bytes,
    key: ec.EllipticCurvePrivateKey = EVENT_KEY,
    *,
    at: datetime = OPENED,
    kind: str = "application/json",
) -> Delivery:
    timestamp = str(int(at.timestamp()))
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    headers = {
        "content-type": kind,
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": timestamp,
    }
    return Delivery(headers, body)


def inbound(**changes: str) -> SendGridInbound:
    keys: dict[str, Any] = {
        "event_public_key": public(EVENT_KEY),
        "parse_public_key": public(PARSE_KEY),
        **changes,
    }
    return Credentials(Secret("SG.x"), SENDER, **keys).inbound


def vector(**headers: str) -> Delivery:
    own = {
        "content-type": "application/json",
        "x-twilio-email-event-webhook-signature": VECTOR_SIGNATURE,
        "x-twilio-email-event-webhook-timestamp": "1600112502",
        **{f"x-twilio-email-event-webhook-{name}": value for name, value in headers.items()},
    }
    return Delivery(own, VECTOR_BODY)


def test_the_vendors_published_vector_holds() -> None:
    verified = inbound(event_public_key=VECTOR_KEY).verify(vector(), VECTOR_TIME)
    assert isinstance(verified, Verified)
    assert verified.topic == EVENTS


@pytest.mark.parametrize(
    ("_case", "delivery", "why"),
    [
        ("another time", vector(timestamp="1600112503"), "the signature does not match"),
        ("no time", vector(timestamp=""), "the signature's time is missing or cannot be read"),
        ("a time with a sign", vector(timestamp="+1600112502"), "the signature's time is missing or cannot be read"),
        ("no signature", vector(signature=""), "the signature does not match"),
        ("no base64", vector(signature="é!"), "the signature does not match"),
        ("a signature of nothing", vector(signature="MAA="), "the signature does not match"),
        ("the line's end cut off", replace(vector(), body=VECTOR_BODY.rstrip()), "the signature does not match"),
        ("another body", replace(vector(), body=VECTOR_BODY.replace(b"dropped", b"deliver")), "the signature does not match"),
    ],
)  # fmt: skip
def test_a_vector_that_was_touched_does_not_hold(_case: str, delivery: Delivery, why: str) -> None:
    assert inbound(event_public_key=VECTOR_KEY).verify(delivery, VECTOR_TIME) == Refused(why)


def test_body_and_time_signed_in_the_wrong_order_are_refused() -> None:
    body = b'[{"event":"delivered","sg_event_id":"e1"}]\r\n'
    timestamp = str(int(OPENED.timestamp()))
    backwards = EVENT_KEY.sign(body + timestamp.encode(), ec.ECDSA(hashes.SHA256()))
    delivery = signed(body)
    delivery.headers["x-twilio-email-event-webhook-signature"] = base64.b64encode(backwards).decode()
    assert inbound().verify(delivery, OPENED) == Refused("the signature does not match")


def test_old_and_new_key_hold_while_one_is_replaced_and_another_does_not() -> None:
    both = inbound(event_public_key=f"{public(PARSE_KEY)}, {public(EVENT_KEY)}")
    assert isinstance(both.verify(signed(b"[{}]"), OPENED), Verified)
    other = ec.generate_private_key(ec.SECP256R1())
    assert both.verify(signed(b"[{}]", other), OPENED) == Refused("the signature does not match")


def test_keys_of_another_kind_are_none() -> None:
    assert read_keys(public(ec.generate_private_key(ec.SECP384R1()))) == ()
    assert read_keys(f"{public(EVENT_KEY)},x") == ()
    assert len(read_keys(f" {public(EVENT_KEY)} ")) == 1


@pytest.mark.parametrize(
    ("key", "kind", "hours"),
    [(EVENT_KEY, "application/json", 25), (PARSE_KEY, "multipart/form-data; boundary=xYzZY", 73)],
)
def test_a_signature_holds_as_long_as_the_vendor_repeats(
    key: ec.EllipticCurvePrivateKey, kind: str, hours: int
) -> None:
    delivery = signed(b"[{}]", key, kind=kind)
    assert isinstance(inbound().verify(delivery, OPENED + timedelta(hours=hours)), Verified)
    late = inbound().verify(delivery, OPENED + timedelta(hours=hours, seconds=1))
    assert late == Refused(f"the signature is older than the {hours} hours of repeats")
    assert isinstance(inbound().verify(delivery, OPENED - timedelta(hours=hours, seconds=1)), Refused)


def test_each_kind_of_delivery_needs_its_own_key() -> None:
    form = "multipart/form-data; boundary=xYzZY"
    assert inbound().verify(signed(b"[{}]", PARSE_KEY), OPENED) == Refused("the signature does not match")
    assert inbound().verify(signed(b"--x", EVENT_KEY, kind=form), OPENED) == Refused(
        "the signature does not match"
    )
    keyless = SendGridInbound()
    assert keyless.verify(signed(b"[{}]"), OPENED) == Refused("no public key of the event webhook is set")
    assert keyless.verify(signed(b"--x", PARSE_KEY, kind=form), OPENED) == Refused(
        "no public key of Inbound Parse's security policy is set"
    )


def test_a_signed_body_that_is_no_batch_is_refused_and_an_empty_one_is_a_greeting() -> None:
    for body in (b"{}", b"null", b"<html>", b""):
        assert inbound().verify(signed(body), OPENED) == Refused("the body is no list of events")
    assert inbound().verify(signed(b"[]\r\n"), OPENED) == Greeting("a batch without events")


def event_id(body: bytes) -> str:
    verified = inbound().verify(signed(body), OPENED)
    assert isinstance(verified, Verified), verified
    return verified.source_event_id


def test_a_batch_that_comes_again_has_the_same_id_in_whatever_order() -> None:
    first = event_id(b'[{"sg_event_id":"a","event":"delivered"},{"sg_event_id":"b"}]\r\n')
    assert first == event_id(b'[{"sg_event_id":"b"},{"event":"delivered","sg_event_id":"a"}]')
    others = {
        event_id(b'[{"sg_event_id":"a"}]'),
        event_id(b'[{"sg_event_id":"ab"}]'),
        event_id(b'[{"event":"x"}]'),
        event_id(b'[{"event":"y"}]'),
    }
    assert len(others | {first}) == 5


# ---------------------------------------------------------------- events


def told(*events: Any) -> bytes:
    return json.dumps(events).encode() + b"\r\n"


def event(kind: Any, **changes: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "email": "ada@example.com",
        "sg_event_id": f"id-{kind}",
        "timestamp": 1795600000,
        "rf_op": STEP,
        **changes,
    }


def seen(status: MessageStatus, why: str = "") -> MessageSeen:
    return MessageSeen("sendgrid", STEP, status, why)


@pytest.mark.parametrize(
    ("_case", "said", "reading"),
    [
        ("delivered", event("delivered", response="250 OK"), seen(MessageStatus.DELIVERED)),
        ("bounced", event("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 <ada@example.com> unknown"),
         seen(MessageStatus.BOUNCED, "bounce 5.1.1 550 5.1.1 (address) unknown")),
        ("blocked", event("bounce", type="blocked", reason="554 not accepted"), seen(MessageStatus.BOUNCED, "blocked 554 not accepted")),
        ("dropped", event("dropped", reason="Bounced Address"), seen(MessageStatus.BOUNCED, "dropped Bounced Address")),
        ("dropped without a word", event("dropped"), seen(MessageStatus.BOUNCED, "dropped")),
        ("reported as spam", event("spamreport"), seen(MessageStatus.COMPLAINED)),
        ("unsubscribed", event("unsubscribe"), seen(MessageStatus.OPTED_OUT)),
        ("left a group", event("group_unsubscribe", asm_group_id=7), seen(MessageStatus.OPTED_OUT)),
    ],
)  # fmt: skip
def test_what_events_say(_case: str, said: dict[str, Any], reading: MessageSeen) -> None:
    assert inbound().read_event(EVENTS, told(said)) == MessagesSeen((reading,))


def test_several_words_are_read_in_the_order_told() -> None:
    batch = told(
        event("processed"),
        event("delivered"),
        event("bounce", rf_op="RF-2.notify.1"),
        event("delivered", rf_op=None),
    )
    assert inbound().read_event(EVENTS, batch) == MessagesSeen(
        (
            seen(MessageStatus.DELIVERED),
            MessageSeen("sendgrid", "RF-2.notify.1", MessageStatus.BOUNCED),
        )
    )


@pytest.mark.parametrize(
    "events",
    [
        [event(kind)]
        for kind in (
            "processed",
            "deferred",
            "open",
            "click",
            "group_resubscribe",
            "machine_open",
            "something new",
        )
    ]
    + [[{"event": "delivered", "sg_event_id": "x"}], [event("delivered", rf_op="")], [{}]],
)
def test_events_that_change_nothing_are_irrelevant(events: list[Any]) -> None:
    assert inbound().read_event(EVENTS, told(*events)) == Irrelevant(
        "no event says what became of a message of ours"
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "body"),
        (b"<html>", "body"),
        (told(event("delivered"), event(None)), "[1].event"),
        (told(7), "[0]"),
    ],
)
def test_what_cannot_be_read_is_named(body: bytes, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        inbound().read_event(EVENTS, body)
    assert caught.value.field == field


# ---------------------------------------------------------------- mail that somebody wrote

BOUNDARY = "xYzZY"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def form_of(fields: Iterable[tuple[str, str | bytes]]) -> bytes:
    parts = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + (value if isinstance(value, bytes) else value.encode())
        + b"\r\n"
        for name, value in fields
    )
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def mail(
    *more: str,
    origin: str | None = "Ada Lovelace <Ada@Example.com>",
    message_id: str = "<m1@example.com>",
    **changes: str | bytes | None,
) -> bytes:
    """A mail as Inbound Parse posts it. `more`: further header lines; `changes`: form fields (None: left out)."""
    lines = [
        "Received: by mx.example with SMTP; Wed, 25 Nov 2026 09:00:00 +0000",
        *more,
        *([f"From: {origin}"] if origin is not None else []),
        "To: cancel@in.shop.example",
        "Subject: Cancel order 1001",
        *([f"Message-ID: {message_id}"] if message_id else []),
    ]
    fields: dict[str, str | bytes | None] = {
        "headers": "\n".join(lines) + "\n",
        "dkim": "none",
        "to": "cancel@in.shop.example",
        "from": "Ada Lovelace <Ada@Example.com>",
        "subject": "Cancel order 1001",
        "text": "Please cancel\r\nmy order.\r\n",
        "envelope": '{"to":["cancel@in.shop.example"],"from":"ada@example.com"}',
        "charsets": '{"subject":"UTF-8","text":"UTF-8"}',
        "SPF": "pass",
        **changes,
    }
    return form_of((name, value) for name, value in fields.items() if value is not None)


def read(body: bytes) -> MailReceived:
    found = inbound().read_event(MAIL, body)
    assert isinstance(found, MailReceived), found
    return found


def test_a_mail_is_read_from_its_form() -> None:
    assert read(mail()) == MailReceived(
        message_id="m1@example.com",
        sender="ada@example.com",
        subject="Cancel order 1001",
        text="Please cancel\nmy order.",
        sender_name="Ada Lovelace",
        is_authenticated=True,
        is_automatic=False,
    )


def test_a_signed_mail_is_told_by_what_it_is_and_not_by_its_message_id_alone() -> None:
    def id_of(body: bytes) -> str:
        verified = inbound().verify(signed(body, PARSE_KEY, kind=FORM), OPENED)
        assert isinstance(verified, Verified), verified
        assert verified.topic == MAIL
        return verified.source_event_id

    assert id_of(mail()) == id_of(mail(spam_score="0.1"))
    assert id_of(mail()) == id_of(mail().replace(b"xYzZY", b"another"))
    assert id_of(mail()) != id_of(mail(text="Do not cancel it"))
    assert id_of(mail()) != id_of(mail(message_id="<m2@example.com>"))
    assert id_of(b"no form") != id_of(b"no form either")


def test_a_mail_without_a_message_id_is_named_by_its_content() -> None:
    assert read(mail(message_id="")).message_id.startswith("sha256:")
    assert read(mail(message_id="")).message_id != read(mail(message_id="", text="something else")).message_id


@pytest.mark.parametrize(
    ("_case", "body", "text"),
    [
        ("in the charset that is named", mail(text="Größe".encode("latin-1"), charsets='{"text":"ISO-8859-1"}'), "Größe"),
        ("in a charset that nobody knows", mail(text="Größe", charsets='{"text":"x-klingon"}'), "Größe"),
        ("in a charset that cannot replace", mail(text=b"\xff abc", charsets='{"text":"idna"}'), "� abc"),
        ("bytes that are no text", mail(text=b"\xff\x00\x1bcancel"), "�cancel"),
        ("charsets that are no JSON", mail(text="Größe", charsets="?"), "Größe"),
        ("charsets of another shape", mail(text="Größe", charsets='{"text": 7}'), "Größe"),
        ("HTML alone", mail(text=None, html="<style>p{}</style><p>Please&nbsp;cancel</p><p>order <b>1001</b></p>"), "Please cancel\norder 1001"),
        ("empty text beside HTML", mail(text=" \r\n", html="<p>cancel</p>"), "cancel"),
        ("nothing", mail(text=None), ""),
    ],
)  # fmt: skip
def test_what_was_written_is_read(_case: str, body: bytes, text: str) -> None:
    assert read(body).text == text


def test_a_text_is_read_up_to_a_limit() -> None:
    assert len(read(mail(text="x" * 1_100_000)).text) == 1_048_576


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a</p><!-- b > c --><p>d</p>", "a\nd"),
        ("<!--[if mso]><style>x{}</style><![endif]-->a", "a"),
        ("<head><title>T</title></head>a<script>if (1 < 2) { b() }</script>c", "ac"),
        ("1 &lt; 2 &amp; 3<br/>x   y\n z", "1 < 2 & 3\nx y z"),
        ("<style>never closed", ""),
        ("a<!--never closed", "a"),
        ("<![bogus[ x ]]>a", "a"),
        ("", ""),
    ],
)
def test_html_is_read_as_what_it_shows(markup: str, text: str) -> None:
    assert text_of(markup) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["<", "<b> ", "<style>", "<!--", "<style></", " ", "&", "<p>", "-->"])
def test_markup_that_is_meant_to_take_long_does_not(piece: str) -> None:
    text_of(piece * (1_000_000 // len(piece)))


RAW = (
    "From: =?utf-8?b?QWRhIEzDtnZlbGFjZQ==?= <ada@example.com>\n"
    "To: cancel@in.shop.example\nSubject: =?iso-8859-1?q?Gr=F6=DFe?= and\n more\nMessage-ID: <raw@example.com>\n"
    'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b1"\n\n'
    '--b1\nContent-Type: multipart/alternative; boundary="b2"\n\n'
    "--b2\nContent-Type: text/html; charset=utf-8\n\n<p>not this</p>\n"
    "--b2\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nbitte k=FCndigen\n--b2--\n"
    "--b1\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nattached\n--b1--\n"
)


def test_a_mail_that_comes_whole_is_taken_apart_here() -> None:
    found = read(mail(text=None, email=RAW, subject=None, headers=None))
    assert found == MailReceived(
        message_id="raw@example.com",
        sender="ada@example.com",
        subject="Größe and more",
        text="bitte kündigen",
        sender_name="Ada Lövelace",
        is_authenticated=True,
        is_automatic=False,
    )


def test_a_whole_mail_of_html_and_one_of_nothing_can_be_read() -> None:
    def whole(tail: str) -> str:
        return read(mail(text=None, email=f"From: ada@example.com\n{tail}", headers=None)).text

    assert whole("Content-Type: text/html\n\n<p>cancel &amp; refund</p>") == "cancel & refund"
    assert whole("Content-Type: text/plain; charset=x-klingon\n\nGröße") == "Größe"
    assert whole("Content-Type: multipart/mixed; boundary=b\n\nno parts at all") == ""


def test_a_mail_nested_deeper_than_anybody_nests_is_read_without_its_body() -> None:
    deep = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(3000))
    found = read(mail(text=None, email=f"From: ada@example.com\n{deep}", headers=None))
    assert (found.sender, found.text) == ("ada@example.com", "")


@pytest.mark.parametrize(
    ("origin", "sender", "name", "is_clear"),
    [
        ("ada@example.com", "ada@example.com", "", True),
        ("  <ADA@example.com> ", "ada@example.com", "", True),
        ('"Lovelace, \\"Ada\\"" <ada@example.com>', "ada@example.com", 'Lovelace, "Ada"', True),
        ("=?utf-8?q?Ada_L=C3=B6ve?= <ada@example.com>", "ada@example.com", "Ada Löve", True),
        # Decoded first, the display name would be the address.
        ("=?utf-8?q?boss=40shop.example=3E?= <ada@example.com>", "ada@example.com", "boss@shop.example>", True),
        ("=?utf-8?b?A?= <ada@example.com>", "ada@example.com", "=?utf-8?b?A?=", True),
        ("boss@shop.example <ada@example.com>", "boss@shop.example", "", False),
        ("ada@example.com, boss@shop.example", "ada@example.com", "", False),
        ("Ada <ada@example.com>, Boss <boss@shop.example>", "ada@example.com", "", False),
        ("ada@example.com (Ada)", "ada@example.com", "", False),
    ],
)  # fmt: skip
def test_the_sender_is_read_from_the_header_as_it_was_sent(
    origin: str, sender: str, name: str, is_clear: bool
) -> None:
    found = read(mail(origin=origin))
    assert (found.sender, found.sender_name, found.is_authenticated) == (sender, name, is_clear)


@pytest.mark.parametrize("origin", [None, "=?utf-8?q?Ada_=3Cada=40example=2Ecom=3E?="])
def test_a_mail_whose_headers_name_no_sender_is_read_by_its_form_and_proves_nothing(
    origin: str | None,
) -> None:
    found = read(mail(origin=origin))
    assert (found.sender, found.sender_name, found.is_authenticated) == (
        "ada@example.com",
        "Ada Lovelace",
        False,
    )
    with pytest.raises(MalformedError) as caught:
        read(mail(origin=origin, **{"from": "nobody"}))
    assert caught.value.field == "from"


def dkim(*found: str) -> str:
    return "{" + ", ".join(found) + "}"


@pytest.mark.parametrize(
    ("_case", "body", "is_authenticated"),
    [
        ("SPF of the same domain", mail(SPF="pass"), True),
        ("SPF without DKIM's word", mail(SPF="Pass", dkim=None), True),
        ("SPF failed", mail(SPF="softfail"), False),
        ("SPF says nothing", mail(SPF=None), False),
        ("SPF of another domain", mail(envelope='{"to":[],"from":"ada@mallory.example"}'), False),
        ("SPF of a domain above", mail(origin="ada@mail.example.com"), True),
        ("SPF of a domain below", mail(envelope='{"from":"bounce@mallory.example.com"}'), False),
        ("SPF of a domain that only ends alike", mail(origin="ada@notexample.com"), False),
        ("SPF of a top-level domain", mail(envelope='{"from":"x@com"}'), False),
        ("SPF of nobody", mail(envelope='{"from":""}'), False),
        ("an envelope that cannot be read", mail(envelope="?"), False),
        ("DKIM of the same domain", mail(SPF="fail", dkim=dkim("@Example.com : pass")), True),
        ("DKIM of the second domain", mail(SPF="fail", dkim=dkim("@x.example : pass", "@example.com : pass")), True),
        ("DKIM failed", mail(SPF="fail", dkim=dkim("@example.com : fail")), False),
        ("DKIM of another domain", mail(SPF="fail", dkim=dkim("@mallory.example : pass", "@example.com : fail")), False),
        ("DKIM says nothing", mail(SPF="fail", dkim="none"), False),
        ("two From headers", mail("From: boss@example.com"), False),
        ("the same From header twice", mail("From: Ada Lovelace <Ada@Example.com>"), False),
    ],
)  # fmt: skip
def test_what_proves_the_sender(_case: str, body: bytes, is_authenticated: bool) -> None:
    assert read(body).is_authenticated is is_authenticated


def test_a_signature_whose_domain_is_written_like_results_is_not_believed() -> None:
    forged = dkim("@example.com : pass", "@mallory.example : fail")
    evil = "DKIM-Signature: v=1; a=rsa-sha256; d=example.com : pass, @mallory.example; s=x; b=abc"
    good = "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x;\n b=abc"
    assert not read(mail(evil, SPF="fail", dkim=forged)).is_authenticated
    assert not read(mail(good, evil, SPF="fail", dkim=forged)).is_authenticated
    assert read(mail(good, SPF="fail", dkim=dkim("@example.com : pass"))).is_authenticated


@pytest.mark.parametrize(
    ("_case", "forged"),
    [
        ("a second verdict", b"--xYzZY\r\nContent-Disposition: form-data; name=\"SPF\"\r\n\r\npass\r\n"),
        ("an end, and a verdict before it", b"--xYzZY\r\nContent-Disposition: form-data; name=\"SPF\"\r\n\r\npass\r\n--xYzZY--\r\n"),
        ("with bare line ends", b"--xYzZY\nContent-Disposition: form-data; name=\"SPF\"\n\npass\n--xYzZY--\n"),
    ],
)  # fmt: skip
def test_a_text_that_writes_the_forms_boundary_proves_nothing(_case: str, forged: bytes) -> None:
    found = read(mail(SPF="fail", text=b"please cancel\r\n" + forged))
    assert not found.is_authenticated
    assert found.text == "please cancel"


def test_a_whole_mail_and_headers_that_differ_prove_nothing() -> None:
    same = "From: Ada Lovelace <Ada@Example.com>\n\nhello"
    assert read(mail(text=None, email=same)).is_authenticated
    assert not read(mail(text=None, email=same.replace("Ada L", "Boss L"))).is_authenticated


@pytest.mark.parametrize(
    ("_case", "body", "is_automatic"),
    [
        ("a person", mail(), False),
        ("Auto-Submitted: no", mail("Auto-Submitted: no"), False),
        ("auto-replied", mail("Auto-Submitted: auto-replied (vacation)"), True),
        ("auto-generated, with a parameter", mail("auto-submitted: Auto-Generated; x=y"), True),
        ("X-Autoreply", mail("X-Autoreply: yes"), True),
        ("X-Autorespond", mail("X-Autorespond: 1"), True),
        ("bulk", mail("Precedence: BULK"), True),
        ("first class", mail("Precedence: first-class"), False),
        ("a list", mail("List-Id: <news.example.com>"), True),
        ("a newsletter", mail("List-Unsubscribe: <mailto:x@example.com>"), True),
        ("asks for silence", mail("X-Auto-Response-Suppress: DR, OOF, AutoReply"), True),
        ("asks for no receipts", mail("X-Auto-Response-Suppress: DR, RN"), False),
        ("a report", mail('Content-Type: multipart/report; report-type="delivery-status"'), True),
        ("an empty envelope", mail(envelope='{"to":["a@b.example"],"from":""}'), True),
        ("an empty envelope in brackets", mail(envelope='{"to":["a@b.example"],"from":"<>"}'), True),
        ("no envelope", mail(envelope=None), False),
        ("the mail system", mail(origin="Mail Delivery <MAILER-DAEMON@example.com>"), True),
        ("nobody to answer", mail(origin="no-reply@example.com"), True),
        ("our own mail come back", mail("X-Refundflow-Loop: RF-1"), True),
        ("our own address", mail(origin="Orders <orders@SG.shop.example>"), True),
    ],
)  # fmt: skip
def test_mail_of_machines_is_told_from_mail_of_people(_case: str, body: bytes, is_automatic: bool) -> None:
    assert read(body).is_automatic is is_automatic


def test_attachments_are_no_fields_whatever_they_are_called() -> None:
    attached = (
        b'--xYzZY\r\nContent-Disposition: form-data; name="text"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\nevil\r\n'
        b'--xYzZY\r\nContent-Disposition: form-data; name="attachment2"; filename="m.eml"\r\nContent-Type: message/rfc822\r\n\r\n'
        b"From: boss@shop.example\r\n\r\nhello\r\n"
    )
    found = read(attached + mail())
    assert (found.sender, found.text, found.is_authenticated) == (
        "ada@example.com",
        "Please cancel\nmy order.",
        True,
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["=?a?q?", "=?", " ", "<", "@", "a@", '"', ";", "d="])
def test_headers_that_are_meant_to_take_long_do_not(piece: str) -> None:
    long = piece * (300_000 // len(piece))
    signature = f"DKIM-Signature: {long}"
    body = mail(signature, origin=f"ada@example.com {long}", subject=long, SPF=long, dkim=long, envelope=long)
    assert read(body).sender == "ada@example.com"


@pytest.mark.parametrize("body", [b"", b"{}", b"--\r\n", b"--xYzZY\r\n", b'--a"b\r\n', b"\xff\xfe"])
def test_what_is_no_form_is_said_to_be_none(body: bytes) -> None:
    assert read_form(body) is None
    with pytest.raises(MalformedError) as caught:
        inbound().read_event(MAIL, body)
    assert caught.value.field == "body"


def test_a_subject_and_a_name_are_one_line_without_marks_that_cannot_be_stored() -> None:
    found = read(
        mail(subject="Cancel\r\nBcc: x\x00\x1b[31m", origin="=?utf-8?q?A=00da=0AB?= <ada@example.com>")
    )
    assert (found.subject, found.sender_name) == ("Cancel Bcc: x[31m", "Ada B")


@pytest.mark.parametrize(
    ("proven", "domain", "is_so"),
    [
        ("example.com", "example.com", True),
        ("example.com", "mail.example.com", True),
        ("mail.example.com", "example.com", False),
        ("com", "example.com", False),
        ("ample.com", "example.com", False),
        ("", "example.com", False),
        ("", "", False),
    ],
)
def test_a_domain_speaks_for_itself_and_for_what_is_below(proven: str, domain: str, is_so: bool) -> None:
    assert is_aligned(proven, domain) is is_so
