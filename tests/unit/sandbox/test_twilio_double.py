"""The practice Twilio: what it sends, what it refuses, what can be found again, what it tells, and what it notes in its book."""

from __future__ import annotations

import base64
import hashlib
import queue
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from falcon.testing import Result, TestClient

from refundflow.sandbox.app import ConnectionCutError, create_app
from refundflow.sandbox.base import Fault, Kind, NoSuchObjectError, Record, Subscription, World
from refundflow.sandbox.twilio import (
    ACCOUNT_SID,
    API_KEY,
    API_SECRET,
    AUTH_TOKEN,
    NUMBER,
    SERVICE,
    SOLO,
    START_WORDS,
    STOP_WORDS,
    TEST_ACCOUNT_SID,
    TEST_AUTH_TOKEN,
    Twilio,
    segments_of,
    signature_of,
)
from tests.support.specs import check_document, check_response, specs

START = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STAMP = "Wed, 25 Nov 2026 12:00:00 +0000"
SINCE_TODAY: dict[str, Any] = {"DateSent>": "2026-11-25"}
ADA = "+12025550170"
BOB = "+4915100000000"
CALLBACK = "https://rf.example/hooks/twilio?op=9f0c"
TEXT = "Order 1001 cancelled. Refund 42.50 EUR. Ref RF77-3"
SMS = {"To": ADA, "From": SOLO, "Body": TEXT}
ROOT = f"/2010-04-01/Accounts/{ACCOUNT_SID}"
KEY = (API_KEY, API_SECRET)
ACCOUNT = (ACCOUNT_SID, AUTH_TOKEN)
TEST = (TEST_ACCOUNT_SID, TEST_AUTH_TOKEN)
FORM = "application/x-www-form-urlencoded"


def _basic(pair: tuple[str, str]) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(":".join(pair).encode()).decode()}


class Bench:
    """A practice Twilio behind its door, with a clock that stands still until moved."""

    def __init__(self) -> None:
        self.now = START
        self.statuses: list[int] = []
        self.posted: queue.Queue[tuple[str, Mapping[str, str], dict[str, str]]] = queue.Queue()
        self.world = World([Twilio], clock=lambda: self.now, send=self._receive)
        self.client = TestClient(create_app(self.world))
        vendor = self.world.vendor("twilio")
        assert isinstance(vendor, Twilio)
        self.twilio = vendor

    def _receive(self, url: str, headers: Any, body: bytes) -> int:
        self.posted.put((url, dict(headers), dict(parse_qsl(body.decode(), keep_blank_values=True))))
        return self.statuses.pop(0) if self.statuses else 200

    def told(self, count: int) -> list[tuple[str, Mapping[str, str], dict[str, str]]]:
        """The next posts; fails where one does not come, or one more has come."""
        posts = [self.posted.get(timeout=5) for _ in range(count)]
        self.world.close()
        assert self.posted.empty()
        return posts

    def send(
        self, changes: Mapping[str, Any] | None = None, *, as_: tuple[str, str] = KEY, root: str = ROOT
    ) -> Result:
        form = {name: value for name, value in {**SMS, **(changes or {})}.items() if value is not None}
        return self.client.simulate_post(
            f"/twilio{root}/Messages.json",
            body=urlencode(form),
            headers={**_basic(as_), "Content-Type": FORM},
        )

    def sid(self, changes: Mapping[str, Any] | None = None) -> str:
        result = self.send(changes)
        assert result.status_code == 201
        return str(result.json["sid"])

    def get(self, path: str, *, as_: tuple[str, str] = KEY, **query: Any) -> Result:
        return self.client.simulate_get(f"/twilio{path}", query_string=urlencode(query), headers=_basic(as_))

    def read(self, sid: str) -> Record:
        message: Record = self.get(f"{ROOT}/Messages/{sid}.json").json
        return message

    def found(self, **query: Any) -> list[str]:
        return [each["sid"] for each in self.get(f"{ROOT}/Messages.json", **query).json["messages"]]

    def seed(self, **data: Any) -> Record:
        return self.world.seed({"twilio": data})["twilio"]

    def fault(self, kind: Kind, operation: str = "send_message", **more: Any) -> None:
        self.world.faults.add(Fault(kind, "twilio", operation, **more))

    def write(self, body: str, **more: str) -> Record:
        [made] = self.world.settle("twilio", {"inbound": {"from": ADA, "body": body, **more}})
        return made

    def settle(self, sid: str, status: str, **more: Any) -> Record:
        [made] = self.world.settle("twilio", {"message": sid, "status": status, **more})
        return made

    def book(self, effect: str | None = None) -> list[Record]:
        return self.twilio.book.lines(effect)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.world.close()


def _error(result: Result) -> tuple[int, int]:
    check_document(specs("twilio") / "error.response.schema.json", result.json)
    assert result.json["status"] == result.status_code
    assert result.json["more_info"] == f"https://www.twilio.com/docs/errors/{result.json['code']}"
    return result.status_code, result.json["code"]


# ---------------------------------------------------------------- sending


def test_a_message_is_queued_and_noted_once(bench: Bench) -> None:
    result = bench.send({"StatusCallback": CALLBACK})

    assert result.status_code == 201
    sid = result.json["sid"]
    assert result.json == {
        "account_sid": ACCOUNT_SID,
        "api_version": "2010-04-01",
        "body": TEXT,
        "date_created": STAMP,
        "date_sent": None,
        "date_updated": STAMP,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": SOLO,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "sid": sid,
        "status": "queued",
        "subresource_uris": {"media": f"{ROOT}/Messages/{sid}/Media.json"},
        "to": ADA,
        "uri": f"{ROOT}/Messages/{sid}.json",
    }
    assert result.headers["twilio-request-id"].startswith("RQ")
    assert bench.book() == [
        {
            "at": START.isoformat(),
            "vendor": "twilio",
            "effect": "send_message",
            "id": sid,
            "amount_minor": None,
            "currency": None,
            "target": {"to": ADA, "from": SOLO, "messaging_service_sid": ""},
            "reference": "9f0c",
            "idempotency_key": None,
            "to": ADA,
            "body": TEXT,
            "segments": 1,
            "status_callback": CALLBACK,
        }
    ]


def test_with_a_messaging_service_the_answer_has_no_sender_and_no_segments_yet(bench: Bench) -> None:
    result = bench.send({"From": None, "MessagingServiceSid": SERVICE})

    assert [result.json[name] for name in ("status", "from", "num_segments")] == ["accepted", None, "0"]
    shown = bench.read(result.json["sid"])
    assert [shown[name] for name in ("status", "from", "num_segments")] == ["delivered", NUMBER, "1"]
    assert (shown["messaging_service_sid"], shown["date_sent"], shown["price"]) == (
        SERVICE,
        STAMP,
        "-0.00790",
    )


def test_the_same_message_twice_is_two_messages_also_with_an_idempotency_token(bench: Bench) -> None:
    headers = {
        **_basic(KEY),
        "Content-Type": FORM,
        "I-Twilio-Idempotency-Token": "one",
        "Idempotency-Key": "one",
    }
    for _ in range(2):
        bench.client.simulate_post(f"/twilio{ROOT}/Messages.json", body=urlencode(SMS), headers=headers)

    assert [line["body"] for line in bench.book("send_message")] == [TEXT] * 2
    assert len(bench.found(To=ADA)) == 2


@pytest.mark.parametrize(
    ("_case", "changes", "code"),
    [
        ("nobody to send to", {"To": None}, 21604),
        ("no sender", {"From": None}, 21603),
        ("no body", {"Body": None}, 21602),
        ("a blank body", {"Body": " \n"}, 21602),
        ("one character too many", {"Body": "x" * 1601}, 21617),
        ("not E.164", {"To": "0151 0000000"}, 21211),
        ("a number with blanks", {"To": "+1 202 555 0170"}, 21211),
        ("a name to send to", {"To": "Ada"}, 21211),
        ("the sender itself", {"To": SOLO}, 21211),
        ("somebody else's number", {"From": BOB}, 21659),
        ("a short code not ours", {"From": "12345"}, 21659),
        ("a name not ours", {"From": "Shop"}, 21606),
        ("a sender that is none", {"From": "+1(202)"}, 21212),
        ("a service that is none", {"From": None, "MessagingServiceSid": "MG1"}, 21705),
        ("an unknown service", {"From": None, "MessagingServiceSid": "MG" + "0" * 32}, 21701),
        ("a sender outside the pool", {"MessagingServiceSid": SERVICE}, 21703),
        ("an underscore in the callback's host", {"StatusCallback": "https://my_host.example/x"}, 21609),
        ("no scheme in the callback", {"StatusCallback": "rf.example/x"}, 21609),
        ("a callback of 4,001 characters", {"StatusCallback": CALLBACK.ljust(4001, "x")}, 21609),
        ("a blank in the callback", {"StatusCallback": "https://rf.example/a b"}, 21609),
        ("a port that is none", {"StatusCallback": "https://rf.example:port/"}, 21609),
        ("no validity", {"ValidityPeriod": "0"}, 21624),
        ("more than ten hours", {"ValidityPeriod": "36001"}, 21624),
        ("validity in words", {"ValidityPeriod": "1h"}, 21624),
    ],
)
def test_a_wrong_message_is_refused_and_nothing_is_sent(
    bench: Bench, _case: str, changes: dict[str, str | None], code: int
) -> None:
    assert _error(bench.send(changes)) == (400, code)
    assert bench.book() == []
    assert bench.found() == []


def test_the_limits_themselves_are_let_through(bench: Bench) -> None:
    changes = {"Body": "x" * 1600, "StatusCallback": CALLBACK.ljust(4000, "x"), "ValidityPeriod": "36000"}

    assert bench.send(changes).json["num_segments"] == "11"


def test_json_is_no_form(bench: Bench) -> None:
    result = bench.client.simulate_post(f"/twilio{ROOT}/Messages.json", json=SMS, headers=_basic(KEY))

    assert _error(result) == (400, 21604)
    assert bench.book() == []


def test_a_number_that_cannot_get_an_sms_is_refused_with_its_error(bench: Bench) -> None:
    bench.seed(refusing={BOB: 21614, ADA: 21408})

    assert (_error(bench.send({"To": BOB})), _error(bench.send())) == ((400, 21614), (400, 21408))
    assert bench.send({"To": BOB}).json["message"] == f"To number: {BOB}, is not a mobile number"
    assert bench.book() == []


def test_a_service_with_a_pool_of_its_own_sends_from_it(bench: Bench) -> None:
    other = "MG" + "0" * 31 + "2"
    assert bench.seed(services=[{"sid": other, "senders": ["+12025550199"]}])["services"] == [other]

    sid = bench.sid({"From": None, "MessagingServiceSid": other})
    assert bench.read(sid)["from"] == "+12025550199"
    bench.seed(senders=["Shop"], services=[{"sid": other, "senders": []}])
    assert bench.send({"From": "Shop"}).status_code == 201
    assert _error(bench.send({"From": None, "MessagingServiceSid": other})) == (400, 21703)


@pytest.mark.parametrize(
    ("body", "segments"),
    [
        ("x" * 160, 1),
        ("x" * 161, 2),
        ("x" * 306, 2),
        ("x" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        # An escaped character is not cut in two: 152 and then two septets do not fit into 153.
        ("x" * 152 + "€" + "x" * 152, 3),
        ("Grüße à 5 @", 1),
        ("ş" * 70, 1),
        ("ş" * 71, 2),
        ("ş" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 67, 3),
        ("x" * 71 + "’", 2),
    ],
)
def test_segments_are_counted_in_gsm_7_or_ucs_2(bench: Bench, body: str, segments: int) -> None:
    assert segments_of(body) == segments
    assert bench.send({"Body": body}).json["num_segments"] == str(segments)
    assert [line["segments"] for line in bench.book()] == [segments]


def test_smart_encoding_changes_the_body_that_is_found_again(bench: Bench) -> None:
    body = "Ada’s “order” – cancelled… Ref RF77-3"
    sid = bench.sid({"Body": body, "SmartEncoded": "true"})

    assert bench.read(sid)["body"] == 'Ada\'s "order" - cancelled... Ref RF77-3'
    assert bench.send({"Body": body, "SmartEncoded": "false"}).json["body"] == body


# ---------------------------------------------------------------- who may call


@pytest.mark.parametrize(
    ("_case", "headers"),
    [
        ("nothing", {}),
        ("a wrong token", _basic((ACCOUNT_SID, "wrong"))),
        ("the account's token with a key", _basic((API_KEY, AUTH_TOKEN))),
        ("a bearer", {"Authorization": f"Bearer {AUTH_TOKEN}"}),
        ("no base64", {"Authorization": "Basic %%%"}),
    ],
)
def test_bad_credentials_get_a_401(bench: Bench, _case: str, headers: dict[str, str]) -> None:
    result = bench.client.simulate_post(
        f"/twilio{ROOT}/Messages.json", body=urlencode(SMS), headers={**headers, "Content-Type": FORM}
    )

    assert _error(result) == (401, 20003)
    assert result.headers["www-authenticate"] == 'Basic realm="Twilio API"'
    assert bench.book() == []


def test_the_account_is_read_with_its_token_and_not_with_a_standard_key(bench: Bench) -> None:
    account = bench.get(f"{ROOT}.json", as_=ACCOUNT)

    assert account.status_code == 200
    assert [account.json[name] for name in ("sid", "status", "type")] == [ACCOUNT_SID, "active", "Full"]
    assert _error(bench.get(f"{ROOT}.json", as_=KEY)) == (401, 20003)
    bench.seed(habits={"keys_read_account": True})
    assert bench.get(f"{ROOT}.json", as_=KEY).status_code == 200


def test_another_account_or_path_is_not_there(bench: Bench) -> None:
    other = f"/2010-04-01/Accounts/AC{'0' * 32}"

    assert _error(bench.send(root=other)) == (404, 20404)
    assert _error(bench.get(f"{ROOT}/Messages/SM{'0' * 32}.json")) == (404, 20404)
    missing = bench.get(f"{ROOT}/Messages")
    assert missing.json["message"] == f"The requested resource {ROOT}/Messages was not found"
    assert bench.book() == []


def test_both_kinds_of_credentials_send(bench: Bench) -> None:
    assert [bench.send(as_=each).status_code for each in (ACCOUNT, KEY)] == [201, 201]
    assert len(bench.book("send_message")) == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"To": "+15005550001"}, 21211),
        ({"To": "+15005550002"}, 21612),
        ({"To": "+15005550003"}, 21408),
        ({"To": "+15005550004"}, 21610),
        ({"To": "+15005550009"}, 21614),
        ({"From": "+15005550001"}, 21212),
        ({"From": "+15005550007"}, 21606),
        ({"From": "+15005550008"}, 21611),
        ({"From": SOLO}, 21606),
        ({"From": None, "MessagingServiceSid": SERVICE}, 21701),
    ],
)
def test_test_credentials_know_the_magic_numbers(
    bench: Bench, changes: dict[str, str | None], code: int
) -> None:
    root = f"/2010-04-01/Accounts/{TEST_ACCOUNT_SID}"

    assert _error(bench.send({"From": "+15005550006", **changes}, as_=TEST, root=root)) == (400, code)
    assert bench.book() == []


def test_test_credentials_send_nothing_and_can_only_send(bench: Bench) -> None:
    root = f"/2010-04-01/Accounts/{TEST_ACCOUNT_SID}"
    result = bench.send({"From": "+15005550006", "StatusCallback": CALLBACK}, as_=TEST, root=root)

    assert (result.status_code, result.json["status"]) == (201, "queued")
    assert result.json["account_sid"] == TEST_ACCOUNT_SID
    assert [line["effect"] for line in bench.book()] == ["test_message"]
    assert bench.found() == []
    for path in (".json", "/Messages.json", f"/Messages/{result.json['sid']}.json"):
        assert _error(bench.get(f"{root}{path}", as_=TEST)) == (403, 20008)
    assert bench.told(0) == []


# ---------------------------------------------------------------- finding again


def test_a_message_is_found_by_numbers_and_day(bench: Bench) -> None:
    bench.now -= timedelta(days=1)
    yesterday = bench.sid()
    bench.now += timedelta(days=1)
    today, other = bench.sid(), bench.sid({"To": BOB, "From": NUMBER})

    assert bench.found() == [other, today, yesterday]
    assert bench.found(To=ADA) == [today, yesterday]
    assert bench.found(From=NUMBER) == [other]
    assert bench.found(To=BOB, From=SOLO) == []
    assert bench.found(To=ADA, **SINCE_TODAY) == [today]
    assert bench.found(To=ADA, **{"DateSent<": "2026-11-24"}) == [yesterday]
    assert bench.found(To=ADA, **{"DateSent<": "2026-11-25"}) == [today, yesterday]
    assert bench.found(DateSent="2026-11-24") == [yesterday]
    assert bench.found(**{"DateSent>": "2026-11-25T12:00:00Z"}) == [other, today]
    assert bench.found(**{"DateSent>": "2026-11-25T12:00:01Z"}) == []
    assert bench.found(**{"DateSent<": "2026-11-25T11:59:59Z"}) == [yesterday]


def test_a_message_not_sent_yet_has_no_day_to_be_found_by(bench: Bench) -> None:
    bench.fault(Kind.SLOW_PENDING)
    sid = bench.sid()

    assert bench.found(To=ADA) == [sid]
    assert bench.found(To=ADA, **SINCE_TODAY) == []
    bench.seed(habits={"finds_unsent_by_date": True})
    assert bench.found(To=ADA, **SINCE_TODAY) == [sid]


def test_the_list_lags_where_told_to_and_the_message_itself_does_not(bench: Bench) -> None:
    bench.seed(habits={"list_delay_s": 30})
    sid = bench.sid()
    bench.now += timedelta(seconds=29)

    assert bench.found(To=ADA) == []
    assert bench.read(sid)["body"] == TEXT
    bench.now += timedelta(seconds=1)
    assert bench.found(To=ADA) == [sid]


def test_pages_follow_their_token_and_new_messages_shift_nothing(bench: Bench) -> None:
    sids = [bench.sid() for _ in range(5)][::-1]
    first = bench.get(f"{ROOT}/Messages.json", To=ADA, PageSize=2).json
    bench.sid()

    def follow(uri: str) -> Record:
        path, _, query = uri.partition("?")
        asked: dict[str, Any] = dict(parse_qsl(query))
        page: Record = bench.get(path, **asked).json
        return page

    second = follow(first["next_page_uri"])
    third = follow(second["next_page_uri"])
    assert first["next_page_uri"].startswith(f"{ROOT}/Messages.json?To=%2B12025550170&PageSize=2&Page=1&")
    assert [[each["sid"] for each in page["messages"]] for page in (first, second, third)] == [
        sids[:2],
        sids[2:4],
        sids[4:],
    ]
    assert [page["page"] for page in (first, second, third)] == [0, 1, 2]
    assert (first["previous_page_uri"], third["next_page_uri"]) == (None, None)
    assert [each["sid"] for each in follow(third["previous_page_uri"])["messages"]] == sids[2:4]


def test_a_page_number_alone_does_not_turn_the_page(bench: Bench) -> None:
    sids = [bench.sid() for _ in range(3)][::-1]

    assert bench.found(PageSize=2, Page=1) == sids[:2]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"PageSize": 0}, 20001),
        ({"PageSize": "all"}, 20001),
        ({"PageSize": 1001}, 20007),
        ({"PageToken": "PASM1"}, 20001),
        ({"DateSent>": "yesterday"}, 20001),
    ],
)
def test_a_list_asked_for_wrongly_is_refused(bench: Bench, query: dict[str, Any], code: int) -> None:
    bench.sid()

    assert _error(bench.get(f"{ROOT}/Messages.json", **query)) == (400, code)


# ---------------------------------------------------------------- what becomes of a message


def test_a_message_held_back_waits_until_settled(bench: Bench) -> None:
    bench.fault(Kind.SLOW_PENDING)
    sid = bench.sid({"From": None, "MessagingServiceSid": SERVICE})
    assert [bench.read(sid)[name] for name in ("status", "from", "date_sent")] == ["accepted", None, None]

    assert bench.settle(sid, "sent") == {"message": sid, "status": "sent", "error_code": None}
    assert [bench.read(sid)[name] for name in ("status", "from", "date_sent")] == ["sent", NUMBER, STAMP]
    bench.settle(sid, "delivered")
    with pytest.raises(ValueError, match="delivered does not become 'undelivered'"):
        bench.settle(sid, "undelivered")
    with pytest.raises(NoSuchObjectError):
        bench.settle("SM0", "sent")
    assert len(bench.book()) == 1


@pytest.mark.parametrize(
    ("code", "status"), [("accepted", "accepted"), ("queued", "queued"), ("sent", "sent")]
)
def test_a_message_is_held_back_where_the_fault_says(bench: Bench, code: str, status: str) -> None:
    bench.fault(Kind.SLOW_PENDING, code=code)

    assert bench.read(bench.sid({"From": None, "MessagingServiceSid": SERVICE}))["status"] == status


def test_a_message_that_waits_longer_than_its_validity_fails(bench: Bench) -> None:
    bench.fault(Kind.SLOW_PENDING)
    sid = bench.sid({"ValidityPeriod": "3600"})
    bench.now += timedelta(seconds=3600)
    assert bench.read(sid)["status"] == "queued"

    bench.now += timedelta(seconds=1)
    shown = bench.read(sid)
    assert [shown[name] for name in ("status", "error_code", "date_sent")] == ["failed", 30036, None]
    with pytest.raises(ValueError, match="failed does not become 'sent'"):
        bench.settle(sid, "sent")


def test_a_message_fails_before_the_carrier_has_it_and_is_undelivered_afterwards(bench: Bench) -> None:
    for _ in range(2):
        bench.fault(Kind.SLOW_PENDING)
    first, second = bench.sid(), bench.sid()

    bench.settle(first, "failed", error_code=30034)
    assert bench.read(first)["error_message"] == "Message from an unregistered number"
    bench.settle(second, "sent")
    with pytest.raises(ValueError, match="sent does not become 'failed'"):
        bench.settle(second, "failed")
    bench.settle(second, "undelivered")
    assert [bench.read(second)[name] for name in ("status", "error_code")] == ["undelivered", 30008]


def test_a_number_that_cannot_be_reached_is_accepted_and_undelivered(bench: Bench) -> None:
    bench.seed(undelivered={ADA: 30003})
    result = bench.send()

    assert (result.status_code, result.json["status"]) == (201, "queued")
    shown = bench.read(result.json["sid"])
    assert [shown[name] for name in ("status", "error_code")] == ["undelivered", 30003]
    assert len(bench.book("send_message")) == 1


def test_a_late_failure_comes_after_it_was_sent(bench: Bench) -> None:
    bench.fault(Kind.LATE_FAILURE)
    sid = bench.sid()
    assert bench.read(sid)["status"] == "sent"

    assert bench.world.settle("twilio", {}) == [
        {"message": sid, "status": "undelivered", "error_code": 30008}
    ]
    assert bench.world.settle("twilio", {}) == []


def test_a_late_failure_finds_a_message_delivered_and_leaves_it(bench: Bench) -> None:
    bench.fault(Kind.LATE_FAILURE)
    sid = bench.sid()
    bench.settle(sid, "delivered")

    assert bench.world.settle("twilio", {}) == [{"message": sid, "status": "delivered", "error_code": None}]


def test_a_reply_lost_after_the_send_can_be_found_by_number_and_body(bench: Bench) -> None:
    bench.fault(Kind.LOST_REPLY)

    with pytest.raises(ConnectionCutError):
        bench.send()
    found = bench.get(f"{ROOT}/Messages.json", To=ADA, **SINCE_TODAY).json["messages"]
    assert [each["body"] for each in found] == [TEXT]
    assert len(bench.book()) == 1


def test_a_lost_request_a_429_a_500_and_a_refusal_send_nothing(bench: Bench) -> None:
    bench.fault(Kind.LOST_REQUEST)
    bench.fault(Kind.STATUS, status=429)
    bench.fault(Kind.STATUS, status=503)
    bench.fault(Kind.REFUSE, code="21612")
    bench.fault(Kind.REFUSE)
    bench.fault(Kind.REFUSE_AUTH)

    with pytest.raises(ConnectionCutError):
        bench.send()
    limited = bench.send()
    assert _error(limited) == (429, 20429)
    assert "retry-after" not in limited.headers
    assert [_error(bench.send()) for _ in range(4)] == [
        (503, 20500),
        (400, 21612),
        (400, 21211),
        (401, 20003),
    ]
    bench.fault(Kind.REFUSE, "get_message")
    assert _error(bench.get(f"{ROOT}/Messages/SM{'1' * 32}.json")) == (404, 20404)
    assert bench.book() == []


# ---------------------------------------------------------------- what customers write


@pytest.mark.parametrize("word", sorted(STOP_WORDS))
def test_a_stop_word_opts_out_and_a_later_sms_is_refused(bench: Bench, word: str) -> None:
    made = bench.write(f" {word.lower()} ")

    assert _error(bench.send({"From": NUMBER})) == (400, 21610)
    assert _error(bench.send({"From": None, "MessagingServiceSid": SERVICE})) == (400, 21610)
    assert bench.send({"From": SOLO}).status_code == 201
    assert bench.send({"From": NUMBER, "To": BOB}).status_code == 201
    [line] = bench.book("opt_out")
    assert (line["id"], line["reference"]) == (made["inbound"], ADA)
    assert line["target"] == {"customer": ADA, "scope": SERVICE}
    assert len(bench.book("send_message")) == 2


@pytest.mark.parametrize("word", sorted(START_WORDS))
def test_a_start_word_opts_in_again(bench: Bench, word: str) -> None:
    bench.seed(opted_out=[ADA])
    assert _error(bench.send()) == (400, 21610)
    bench.write(word, to=SOLO)

    assert bench.send().status_code == 201
    assert _error(bench.send({"From": NUMBER})) == (400, 21610)
    assert [line["effect"] for line in bench.book()] == ["opt_in", "send_message"]


def test_a_stop_word_in_a_sentence_and_a_second_one_change_nothing(bench: Bench) -> None:
    bench.write("Please cancel order 1001")
    assert bench.book() == []

    bench.write("STOP")
    bench.write("stop")
    bench.write("START")
    bench.write("start")
    assert [line["effect"] for line in bench.book()] == ["opt_out", "opt_in"]


def test_the_vendor_replies_to_its_words_by_itself_and_the_reply_is_in_the_list(bench: Bench) -> None:
    bench.write("help")
    bench.write("STOP")
    bench.write("HELP")

    replies = bench.get(f"{ROOT}/Messages.json", To=ADA).json["messages"]
    assert [each["direction"] for each in replies] == ["outbound-reply", "outbound-reply"]
    received = bench.get(f"{ROOT}/Messages.json", From=ADA).json["messages"]
    assert [(each["body"], each["status"]) for each in received] == [
        ("HELP", "received"),
        ("STOP", "received"),
        ("help", "received"),
    ]
    assert bench.book("send_message") == []


def test_an_opt_out_may_also_be_told_only_afterwards(bench: Bench) -> None:
    bench.seed(opted_out=[ADA], habits={"refuses_opt_outs_at_once": False})
    sid = bench.sid()

    assert [bench.read(sid)[name] for name in ("status", "error_code")] == ["failed", 21610]
    assert [line["effect"] for line in bench.book()] == ["drop_message"]


def test_an_inbound_sms_is_posted_signed_to_whoever_subscribed(bench: Bench) -> None:
    url = "https://rf.example:8443/hooks/twilio"
    bench.world.webhooks.subscribe("twilio", Subscription(url, AUTH_TOKEN, copies=2))
    made = bench.write("Where is my refund?", to=SOLO)

    posts = bench.told(2)
    assert [post[0] for post in posts] == [url] * 2
    _, headers, form = posts[0]
    check_document(specs("twilio") / "status_callback.request.schema.json", form)
    assert form == {
        "MessageSid": made["inbound"],
        "SmsSid": made["inbound"],
        "SmsMessageSid": made["inbound"],
        "AccountSid": ACCOUNT_SID,
        "From": ADA,
        "To": SOLO,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
        "Body": "Where is my refund?",
    }
    assert headers["X-Twilio-Signature"] == signature_of(AUTH_TOKEN, url, form.items())
    assert posts[0][1]["I-Twilio-Idempotency-Token"] == posts[1][1]["I-Twilio-Idempotency-Token"]
    assert bench.read(made["inbound"])["direction"] == "inbound"


def test_only_advanced_opt_out_says_which_kind_of_word_it_was(bench: Bench) -> None:
    plain = bench.twilio.event_for("inbound", bench.write("STOP")["inbound"])
    bench.seed(services=[{"sid": SERVICE, "senders": [NUMBER], "has_advanced_opt_out": True}])
    kinds = [
        bench.twilio.event_for("inbound", bench.write(word)["inbound"]).body.get("OptOutType")
        for word in ("CANCEL", "start", "Info", "Hello")
    ]

    assert "OptOutType" not in plain.body
    assert plain.body["MessagingServiceSid"] == SERVICE
    assert kinds == ["STOP", "START", "HELP", None]


def test_a_word_may_be_kept_from_the_webhook(bench: Bench) -> None:
    bench.seed(habits={"forwards_keywords": False})
    bench.world.webhooks.subscribe("twilio", Subscription("https://rf.example/in", AUTH_TOKEN))
    made = bench.write("cancel")
    bench.write("Please cancel")

    assert made["is_forwarded"] is False
    assert [form["Body"] for _, _, form in bench.told(1)] == ["Please cancel"]
    assert len(bench.book("opt_out")) == 1


# ---------------------------------------------------------------- callbacks


@pytest.mark.parametrize(
    ("sender", "statuses"),
    [
        ({"From": SOLO}, ["sent", "delivered"]),
        ({"From": None, "MessagingServiceSid": SERVICE}, ["queued", "sent", "delivered"]),
    ],
)
def test_each_later_status_is_called_back_to_the_messages_own_address(
    bench: Bench, sender: dict[str, str | None], statuses: list[str]
) -> None:
    bench.world.webhooks.subscribe("twilio", Subscription("https://rf.example/all", AUTH_TOKEN))
    sid = bench.sid({**sender, "StatusCallback": CALLBACK})

    posts = bench.told(len(statuses))
    assert [post[0] for post in posts] == [CALLBACK] * len(statuses)
    assert [form["MessageStatus"] for _, _, form in posts] == statuses
    for _, headers, form in posts:
        check_document(specs("twilio") / "status_callback.request.schema.json", form)
        assert (form["MessageSid"], form["AccountSid"], form["To"]) == (sid, ACCOUNT_SID, ADA)
        assert headers["Content-Type"] == f"{FORM}; charset=UTF-8"
        assert headers["X-Twilio-Signature"] == signature_of(AUTH_TOKEN, CALLBACK, form.items())
    assert posts[-1][2]["RawDlrDoneDate"] == "2611251200"
    assert "ErrorCode" not in posts[-1][2]
    assert len({headers["I-Twilio-Idempotency-Token"] for _, headers, _ in posts}) == len(statuses)


def test_without_an_address_of_its_own_a_message_is_told_of_to_whoever_subscribed(bench: Bench) -> None:
    bench.seed(undelivered={ADA: 30006})
    bench.world.webhooks.subscribe("twilio", Subscription("https://rf.example/all", AUTH_TOKEN))
    bench.sid()

    told = [(form["MessageStatus"], form.get("ErrorCode")) for _, _, form in bench.told(2)]
    assert told == [("sent", None), ("undelivered", "30006")]


def test_a_callback_is_tried_once_more_only_where_no_connection_came_about(bench: Bench) -> None:
    bench.statuses = [0, 0, 500]
    bench.sid({"StatusCallback": CALLBACK})

    posts = bench.told(3)
    assert [form["MessageStatus"] for _, _, form in posts] == ["sent", "sent", "delivered"]
    tokens = [headers["I-Twilio-Idempotency-Token"] for _, headers, _ in posts]
    assert tokens[0] == tokens[1] != tokens[2]


def test_only_what_happened_can_be_told(bench: Bench) -> None:
    sid = bench.sid()

    assert bench.twilio.event_for("delivered", sid).body["MessageStatus"] == "delivered"
    for topic in ("queued", "undelivered", "inbound"):
        with pytest.raises(NoSuchObjectError):
            bench.twilio.event_for(topic, sid)


def test_an_address_is_signed_without_its_fragment_and_with_its_port_or_not(bench: Bench) -> None:
    event = bench.twilio.event_for("sent", bench.sid())
    url = "https://rf.example:8443/hooks?op=1"

    def signed() -> str:
        return bench.twilio.sign(event, f"{url}#rc=2", "12345").headers["X-Twilio-Signature"]

    assert signed() == signature_of("12345", url, event.body.items())
    bench.seed(habits={"signs_port": False})
    assert signed() == signature_of("12345", "https://rf.example/hooks?op=1", event.body.items())


def test_the_published_signature_vectors_are_reproduced() -> None:
    params = [
        ("To", "+18005551212"),
        ("From", "+14158675309"),
        ("Digits", "1234"),
        ("Caller", "+14158675309"),
        ("CallSid", "CA1234567890ABCDE"),
    ]
    repeated = [
        ("Sid", "CA123"),
        ("SidAccount", "AC123"),
        *(("Digits", each) for each in ("5678", "1234", "1234")),
    ]
    body = hashlib.sha256(b'{"property": "value", "boolean": true}').hexdigest()
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"

    assert signature_of("12345", url, params) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert signature_of("12345", url.replace(".com", ".com:443"), params) == "kvajT1Ptam85bY51eRf/AJRuM3w="
    assert signature_of("12345", url, repeated) == "IK+Dwps556ElfBT0I3Rgjkr1wJU="
    assert signature_of("12345", f"{url}&bodySHA256={body}") == "a9nBmqA0ju/hNViExpshrM61xv4="


# ---------------------------------------------------------------- the whole


def test_answers_fit_the_published_description(bench: Bench) -> None:
    spec = specs("twilio") / "twilio_messages.openapi.json"
    path = "/2010-04-01/Accounts/{AccountSid}/Messages"
    bench.seed(undelivered={BOB: 30003}, inbound=[{"from": ADA, "body": "Hello"}])
    sent = bench.send({"From": None, "MessagingServiceSid": SERVICE})
    bench.send({"To": BOB})

    check_response(spec, "POST", f"{path}.json", 201, sent.json, declared_only=True)
    shown = bench.read(sent.json["sid"])
    check_response(spec, "GET", f"{path}/{{Sid}}.json", 200, shown, declared_only=True)
    page = bench.get(f"{ROOT}/Messages.json", PageSize=2).json
    check_response(spec, "GET", f"{path}.json", 200, page, declared_only=True)


def test_a_reset_forgets_everything(bench: Bench) -> None:
    bench.sid()
    bench.write("STOP")
    bench.world.reset("twilio")

    assert bench.book() == []
    assert bench.found() == []
    assert bench.send({"From": NUMBER}).status_code == 201


def test_a_seed_or_a_settling_that_cannot_be_read_says_what_is_wrong(bench: Bench) -> None:
    for data, words in (
        ({"habits": {"is_kind": True}}, "is_kind"),
        ({"refusing": {ADA: 1}}, "no error 1"),
        ({"services": [{"sid": SERVICE}]}, "senders"),
        ({"inbound": [{"from": ADA}]}, "body"),
        ({"inbound": [{"from": ADA, "body": "x", "to": BOB}]}, "no number"),
    ):
        with pytest.raises(ValueError, match=words):
            bench.seed(**data)
    with pytest.raises(ValueError, match="inbound sms needs"):
        bench.world.settle("twilio", {"inbound": {"from": ADA}})
    with pytest.raises(ValueError, match="twilio settles"):
        bench.world.settle("twilio", {"call": "CA1"})
