"""What holds for every connector, whatever its vendor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from operator import methodcaller
from typing import Any

import pytest

from refundflow.connectors.base import EFFECTS, Capability, Connector, Health, Idempotency
from refundflow.domain.outcomes import NotFound, Permanent, Retryable, Unknown
from refundflow.transport.base import Request, Response
from refundflow.transport.http import RequestsHttp, RequestsWire, _record, record_exchanges
from refundflow.transport.pacing import LocalPacer
from tests.support.connectors import CONNECTORS, Subject
from tests.support.fake_http import FakeHttp, FakeWire, answer

GARBAGE: dict[str, Response] = {
    "an HTML page": answer(200, "<!doctype html><html><body>Welcome</body></html>"),
    "an HTML error page": answer(502, "<html><h1>502 Bad Gateway</h1></html>"),
    "nothing": answer(200, ""),
    "null": answer(200, "null"),
    "a list": answer(200, "[]"),
    "an empty object": answer(200, "{}"),
    "truncated JSON": answer(200, '{"id": "re_1", "status": "succ'),
    "a text": answer(200, '"ok"'),
    "a number": answer(200, "1"),
    "wrong types": answer(
        200,
        {
            "id": 7,
            "object": [],
            "status": {},
            "data": "x",
            "error": 5,
            "errors": 3,
            "message": None,
            "ok": "yes",
        },
    ),
    "lists of wrong things": answer(200, {"data": [None, 1, "x", []], "items": [3], "has_more": False}),
    "a failure without a word": answer(500, ""),
    "a redirect": answer(302, "", {"Location": "https://login.example"}),
    "bytes that are no text": answer(200, b"\xff\xfe\x00\x01"),
}

CUSTOMER = {
    "email": "ada@shop.example",
    "name": "Ada Lovelace",
    "phone": "+491701234567",
    "billing_address": {"line1": "Main Street 1", "city": "Springfield"},
    "note": "write to ada@shop.example, card 4242 4242 4242 4242",
}


@pytest.fixture(params=CONNECTORS, ids=lambda subject: subject.platform)
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.param
    return found


def built(subject: Subject, http: FakeHttp) -> Any:
    return subject.module.build(subject.credentials, FakeWire(http))


def calls(subject: Subject) -> list[tuple[str, Callable[[Any], Any]]]:
    """Every method that talks to the vendor: name, and how to call it."""
    methods: list[tuple[str, Callable[[Any], Any]]] = []
    for capability in subject.module.SPEC.operations:
        if capability is Capability.INBOUND:
            continue
        arguments = subject.arguments(capability)
        names = (
            [capability.value, f"find_{capability.value}"] if capability in EFFECTS else [capability.value]
        )
        methods.extend((name, methodcaller(name, *arguments)) for name in names)
    return methods


def method_names(connector: Any) -> set[str]:
    known = {c.value for c in Capability} | {f"find_{c.value}" for c in EFFECTS}
    return {name for name in known if callable(getattr(connector, name, None))}


class TestDeclaration:
    def test_every_declared_operation_is_a_method_and_no_other_is(self, subject: Subject) -> None:
        declared = set(subject.module.SPEC.operations) - {Capability.INBOUND}
        expected = {c.value for c in declared} | {f"find_{c.value}" for c in declared & EFFECTS}
        assert method_names(built(subject, FakeHttp())) == expected

    def test_inbound_is_declared_where_events_can_be_verified(self, subject: Subject) -> None:
        readers = [
            thing
            for thing in vars(subject.module).values()
            if isinstance(thing, type) and hasattr(thing, "verify") and hasattr(thing, "read_event")
        ]
        assert bool(readers) is (Capability.INBOUND in subject.module.SPEC.operations)
        assert all(reader.platform == subject.platform for reader in readers)  # type: ignore[attr-defined] # by the filter above

    def test_it_is_a_connector_with_its_own_spec(self, subject: Subject) -> None:
        connector = built(subject, FakeHttp())
        assert isinstance(connector, Connector)
        assert connector.spec is subject.module.SPEC

    def test_every_operation_says_what_it_calls_and_effects_how_they_stay_single(
        self, subject: Subject
    ) -> None:
        for capability, operation in subject.module.SPEC.operations.items():
            assert operation.call
            if capability in EFFECTS:
                assert operation.idempotency is not Idempotency.READ, capability
            if operation.idempotency is Idempotency.KEY:
                assert operation.key_lifetime_h is not None, capability
                assert operation.key_lifetime_h > 0, capability

    def test_rates_and_time_limits_are_set_and_handed_to_the_wire(self, subject: Subject) -> None:
        spec = subject.module.SPEC
        wire = FakeWire()
        subject.module.build(subject.credentials, wire)
        assert wire.made
        for made in wire.made:
            assert made["platform"] == spec.platform
            assert made["base_url"].startswith("https://")
            assert 0 < made["rate_per_s"] <= 100
            assert 1 <= made["burst"] <= 200
            assert 0 < made["connect_s"] <= 10
            # A step's lease is 90 s: two calls that both run into their limits end within it.
            assert 0 < made["read_s"] + made["connect_s"] <= 45
            assert spec.redact <= made.get("redact", frozenset())

    def test_building_sends_nothing(self, subject: Subject) -> None:
        http = FakeHttp()
        built(subject, http)
        assert http.requests == []


class TestAnswersThatSayNothing:
    @pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
    def test_they_are_never_a_yes_and_never_an_exception(self, subject: Subject, garbage: Response) -> None:
        for name, call in calls(subject):
            said = call(built(subject, FakeHttp(always=garbage)))
            match said:
                case Health(is_ok=is_ok):
                    # A list of whatever is enough of a sign of life; nothing hangs on it but a line for people.
                    assert not is_ok or garbage is GARBAGE["lists of wrong things"], name
                case NotFound(conclusive_after_s=after_s):
                    assert name.startswith("find_"), name
                    assert after_s is None, f"{name} takes garbage for a proof of absence"
                case _:
                    assert isinstance(said, Unknown | Retryable), f"{name} made {said} of it"

    def test_an_effect_whose_answer_says_nothing_is_unknown(self, subject: Subject) -> None:
        for name, call in calls(subject):
            if Capability(name.removeprefix("find_")) in EFFECTS and not name.startswith("find_"):
                http = FakeHttp(always=answer(500, ""))
                said = call(built(subject, http))
                assert isinstance(said, Unknown) or (
                    isinstance(said, Retryable) and not wrote(http.requests)
                ), name


class TestAnswersThatSayNotNow:
    def test_too_many_calls_are_retryable_after_the_vendors_own_hint(self, subject: Subject) -> None:
        for name, call in calls(subject):
            said = call(built(subject, FakeHttp(always=answer(429, "slow down", {"Retry-After": "7"}))))
            match said:
                case Retryable(code=code, after_s=after_s):
                    assert (code, after_s) == ("throttled", 7.0), name
                case Health(is_ok=is_ok):
                    assert not is_ok
                case _:
                    assert name.startswith("find_"), f"{name} made {said} of it"
                    assert isinstance(said, Unknown) or said == NotFound(None, getattr(said, "reason", ""))

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_credentials_are_retryable_and_the_houses_fault(
        self, subject: Subject, status: int
    ) -> None:
        for name, call in calls(subject):
            said = call(built(subject, FakeHttp(always=answer(status, '{"message": "no"}'))))
            match said:
                case Retryable(code=code, reason=reason):
                    assert code == "unauthorised", name
                    assert reason
                case Health(is_ok=is_ok, detail=detail):
                    assert not is_ok
                    assert detail
                case _:
                    assert name.startswith("find_"), f"{name} made {said} of it"
                    assert not isinstance(said, Permanent)


class TestRedaction:
    def test_what_is_kept_of_an_exchange_holds_no_secret_and_no_customer(self, subject: Subject) -> None:
        fake = FakeHttp(always=answer(400, {"error": CUSTOMER}))
        wire = FakeWire(fake)
        connector = subject.module.build(subject.credentials, wire)
        for _, call in calls(subject):
            call(connector)
        requests = [*fake.requests, *wire.token_requests]
        assert fake.requests
        for made in wire.made:
            for request in requests:
                kept = exchange_of(made, request, quoting(subject, made, request))
                for word in (
                    *subject.secrets,
                    "ada@shop",
                    "Lovelace",
                    "49170123",
                    "Main Street",
                    "4242 4242",
                ):
                    assert word not in kept, word


def quoting(subject: Subject, made: dict[str, Any], request: Request) -> Response:
    """A refusal that repeats the credentials it was sent, as some vendors do, and all that it knows of the customer."""
    sent = f"{made} {request}"
    words = " ".join(secret for secret in subject.secrets if secret in sent)
    return answer(400, {"error": {**CUSTOMER, "type": "x", "message": f"bad credentials: {words}"}})


def exchange_of(made: dict[str, Any], request: Request, response: Response) -> str:
    """What the real wire, made with the same arguments, would keep of this exchange."""
    http = RequestsWire(LocalPacer()).http(**made)
    assert isinstance(http, RequestsHttp)
    with record_exchanges() as exchanges:
        _record(request, http.base_url + request.path, http.headers, http.redaction, response, 0.0, "")
    return json.dumps([asdict(e) for e in exchanges], default=str)


def wrote(requests: list[Request]) -> bool:
    """Whether one of the requests could have had an effect. A GraphQL query is a POST that has none."""
    return any(
        request.method != "GET" and "query" not in str((request.json or {}).get("query", ""))[:6]
        for request in requests
    )
