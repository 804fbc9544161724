"""The front door as a WSGI application (Falcon): thin, synchronous like the database driver under it."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final

import falcon
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from refundflow.connectors.base import Inbound
from refundflow.connectors.inventory_flags import InventoryFlags
from refundflow.domain.inbound import Delivery, Greeting, MalformedError, Refused, Verified
from refundflow.ingest.doors import DATABASE_PATIENCE_S, Door
from refundflow.ingest.enqueue import Enqueuer
from refundflow.ingest.openapi import describe
from refundflow.ingest.portal import SOURCE as PORTAL
from refundflow.ingest.portal import Portal, Style
from refundflow.observe import EVENTS_RECEIVED, logger
from refundflow.settings import Settings
from refundflow.store import cases, inbox, steps
from refundflow.store.db import DatabaseAwayError, current_revision, head_revision
from refundflow.transport.base import MaybeSentError, NotSentError
from refundflow.wiring import House

log = logger(__name__)

_RETRY_AFTER_S: Final = 10
_API: Final = "api"
_FLAGS: Final = InventoryFlags.platform
#: Carriers that hand whole e-mails over, attachments and all, and may not come again after a 413.
_MAIL: Final = ("mailgun", "sendgrid")
_MAIL_BYTES: Final = 31_000_000
#: Vendors that read our answer: Twilio for instructions, Slack for a message. They are told nothing.
_SILENT: Final = ("twilio", "slack")
#: Sources with an address of their own.
_OWN: Final = (_API, _FLAGS, PORTAL)


def create_app(house: House) -> falcon.App[falcon.Request, falcon.Response]:
    """The application over a built house; nothing is connected before the first request."""
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    app.set_error_serializer(_problem)
    enqueuer = Enqueuer()
    app.add_route("/v1/cancellations", Cancellations(house, enqueuer))
    app.add_route("/v1/cancellations/{event_id:int}", CancellationStatus(house))
    app.add_route("/v1/cases/{case_id}", CaseStatus(house))
    app.add_route("/v1/inventory-flags", InventoryFlagged(house, enqueuer))
    app.add_route("/hooks/{source}", Hooks(house, enqueuer))
    if house.settings.portal_key:
        app.add_route("/portal", Portal(house, enqueuer))
        app.add_route("/portal.css", Style())
    app.add_route("/healthz", Alive())
    app.add_route("/readyz", Ready(house))
    app.add_route("/openapi.json", Description(house.settings))
    app.add_route("/metrics", Metrics())
    app.add_error_handler(DatabaseAwayError, _database_away)
    return app


def _problem(_: falcon.Request, response: falcon.Response, error: falcon.HTTPError) -> None:
    """Errors are JSON with a title and what to do; `field` where one is at fault."""
    response.content_type = falcon.MEDIA_JSON
    body = {"status": error.status_code, "title": error.title, "detail": error.description}
    response.data = json.dumps({k: v for k, v in body.items() if v is not None}).encode()


def _database_away(
    _: falcon.Request, response: falcon.Response, error: DatabaseAwayError, __: Mapping[str, Any]
) -> None:
    """Nothing was stored, so the sender must come again."""
    log.error("ingest.database_away", error=error.reason)
    response.status = falcon.HTTP_503
    response.set_header("Retry-After", str(_RETRY_AFTER_S))
    response.media = {
        "status": 503,
        "title": "Not stored",
        "detail": "the database is away; send this again after the time in Retry-After",
    }


def _unreadable(inbound: Inbound, topic: str, body: bytes) -> MalformedError | None:
    try:
        inbound.read_event(topic, body)
    except MalformedError as error:
        return error
    return None


class Cancellations(Door):
    """`POST /v1/cancellations`: the shop's own site asks for a cancellation."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        caller = authenticate(self.house.settings, request)
        inbound = self.house.platforms.inbound[_API]
        headers = {name.lower(): value for name, value in request.headers.items()}
        key = headers.get("idempotency-key", "")
        if not 0 < len(key) <= 200:
            raise falcon.HTTPBadRequest(
                title="Idempotency-Key is missing",
                description="send an Idempotency-Key header of 1 to 200 characters, the same whenever you repeat the request",
            )
        body = self.read_body(request)
        verified = inbound.verify(Delivery(headers, body), self.house.context.now())
        assert isinstance(verified, Verified), "the key is there"
        wrong = _unreadable(inbound, verified.topic, body)
        if wrong is not None:
            EVENTS_RECEIVED.labels(_API, "422").inc()
            raise falcon.HTTPUnprocessableEntity(title=f"{wrong.field} is not right", description=str(wrong))
        stored = self.store(_API, Verified(f"{caller}:{key}", verified.topic), Delivery(headers, body))
        if not stored.is_new and not _same_json(stored.body, body):
            EVENTS_RECEIVED.labels(_API, "409").inc()
            raise falcon.HTTPConflict(
                title="Idempotency-Key was used before",
                description="this Idempotency-Key came with another body before; use a new key for a new request",
            )
        EVENTS_RECEIVED.labels(_API, "202").inc()
        response.status = falcon.HTTP_202
        response.set_header("Location", f"/v1/cancellations/{stored.event_id}")
        response.media = {
            "event_id": stored.event_id,
            "status": "received",
            "status_url": f"/v1/cancellations/{stored.event_id}",
        }


def _same_json(first: bytes, second: bytes) -> bool:
    """The same request though written with other spaces or another order of fields."""
    return first == second or json.loads(first) == json.loads(second)


class SignedDoor(Door):
    """What both signed doors do with a delivery."""

    def take(self, request: falcon.Request, response: falcon.Response, source: str, inbound: Inbound) -> None:
        """Verifies, stores, answers."""
        body = self.read_body(request, _MAIL_BYTES if source in _MAIL else 0)
        headers = {name.lower(): value for name, value in request.headers.items()}
        delivery = Delivery(headers, body, request.query_string)
        try:
            verified = inbound.verify(delivery, self.house.context.now())
        except (NotSentError, MaybeSentError) as error:
            # Some vendors sign with keys that must be fetched first. Not verified is not refused: they come again.
            EVENTS_RECEIVED.labels(source, "503").inc()
            log.warning("ingest.unverifiable", source=source, reason=error.reason)
            raise falcon.HTTPServiceUnavailable(
                title="Not verified",
                description="what the signature is checked with could not be fetched; send this again later",
                retry_after=_RETRY_AFTER_S,
            ) from error
        if isinstance(verified, Greeting):
            EVENTS_RECEIVED.labels(source, "200").inc()
            log.info("ingest.greeted", source=source, why=verified.why)
            response.media = {"status": "hello"}
            return
        if isinstance(verified, Refused):
            EVENTS_RECEIVED.labels(source, "401").inc()
            log.warning("ingest.refused", source=source, reason=verified.reason)
            raise falcon.HTTPUnauthorized(title="Signature refused", description=verified.reason)
        wrong = _unreadable(inbound, verified.topic, body)
        stored = self.store(source, verified, delivery, unreadable=str(wrong) if wrong else "")
        if wrong is not None:
            EVENTS_RECEIVED.labels(source, "422").inc()
            raise falcon.HTTPUnprocessableEntity(
                title=f"{wrong.field} is not right",
                description=f"{wrong}; the delivery is kept as event {stored.event_id} for a person",
            )
        EVENTS_RECEIVED.labels(source, "200").inc()
        if source in _SILENT:
            response.status = falcon.HTTP_204
        else:
            response.media = {"event_id": stored.event_id, "status": "received" if stored.is_new else "known"}


class Hooks(SignedDoor):
    """`POST /hooks/<platform>`: signed webhooks."""

    def on_head(self, _: falcon.Request, response: falcon.Response, source: str) -> None:
        """Some vendors try the address out before they let a webhook be made; there is nothing to sign in that."""
        self._inbound_of(source)
        response.status = falcon.HTTP_200

    def _inbound_of(self, source: str) -> Inbound:
        inbound = self.house.platforms.inbound.get(source)
        if inbound is None or source in _OWN:
            raise falcon.HTTPNotFound(description=f"no webhooks are set up for '{source}'")
        return inbound

    def on_post(self, request: falcon.Request, response: falcon.Response, source: str) -> None:
        self.take(request, response, source, self._inbound_of(source))


class InventoryFlagged(SignedDoor):
    """`POST /v1/inventory-flags`: a stock system says that an order cannot be fulfilled, or may come back."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        inbound = self.house.platforms.inbound.get(_FLAGS)
        if inbound is None:
            raise falcon.HTTPNotFound(description="no flags are taken: set REFUNDFLOW_FLAG_KEYS")
        self.take(request, response, _FLAGS, inbound)


class CancellationStatus:
    """`GET /v1/cancellations/<event id>`: what became of a request."""

    def __init__(self, house: House) -> None:
        self.house = house

    def on_get(self, request: falcon.Request, response: falcon.Response, event_id: int) -> None:
        caller = authenticate(self.house.settings, request)
        event = self.house.db.run(
            lambda connection: inbox.load(connection, event_id), patience_s=DATABASE_PATIENCE_S
        )
        if event is None or event.source != _API or not event.source_event_id.startswith(f"{caller}:"):
            raise falcon.HTTPNotFound(description=f"no request {event_id} of yours")
        response.media = {
            "event_id": event_id,
            "status": {"new": "received"}.get(event.state, event.state),
            "case_id": event.case_id or None,
            "case_url": f"/v1/cases/{event.case_id}" if event.case_id else None,
        }


class CaseStatus:
    """`GET /v1/cases/<case id>`: how a cancellation stands, without personal data."""

    def __init__(self, house: House) -> None:
        self.house = house

    def on_get(self, request: falcon.Request, response: falcon.Response, case_id: str) -> None:
        authenticate(self.house.settings, request)
        media = self.house.db.run(
            lambda connection: _case_media(connection, case_id), patience_s=DATABASE_PATIENCE_S
        )
        if media is None:
            raise falcon.HTTPNotFound(description=f"no case {case_id}")
        response.media = media


def _case_media(connection: Connection, case_id: str) -> dict[str, Any] | None:
    case = cases.load(connection, case_id)
    if case is None:
        return None
    return {
        "case_id": case.case_id,
        "order": {"platform": case.platform, "id": case.order_id, "number": case.order_number},
        "state": case.state.value,
        "why": case.why,
        "opened_at": case.opened_at.isoformat(),
        "closed_at": case.closed_at.isoformat() if case.closed_at else None,
        "sources": [
            {"event_id": s["event_id"], "source": s["source"], "topic": s["topic"], "how": s["how"]}
            for s in cases.sources(connection, case_id)
        ],
        "steps": [
            {
                "step_key": s.step_key,
                "kind": s.kind.value,
                "action": s.action,
                "platform": s.platform,
                "state": s.state.value,
                "amount_minor": s.amount.minor if s.amount else None,
                "currency": s.amount.currency if s.amount else None,
                "reference": s.reference or None,
            }
            for s in steps.of_case(connection, case_id)
        ],
    }


class Alive:
    """`GET /healthz`: the process answers."""

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        response.media = {"status": "ok"}


class Ready:
    """`GET /readyz`: deliveries can be stored (the database is there, at this release's schema)."""

    def __init__(self, house: House) -> None:
        self.house = house

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        try:
            revision = self.house.db.run(current_revision, patience_s=1.0)
        except (DatabaseAwayError, SQLAlchemyError) as error:
            raise falcon.HTTPServiceUnavailable(
                title="Not ready",
                description=f"the database is away: {type(error).__name__}",
                retry_after=_RETRY_AFTER_S,
            ) from error
        if revision != head_revision():
            raise falcon.HTTPServiceUnavailable(
                title="Not ready",
                description=f"the schema is at {revision}, this release needs {head_revision()}: run `refundflow db upgrade`",
                retry_after=_RETRY_AFTER_S,
            )
        response.media = {"status": "ready", "schema": revision}


class Description:
    """`GET /openapi.json`: this API, described."""

    def __init__(self, settings: Settings) -> None:
        self.media = describe(settings.ingest.max_body_bytes)

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        response.media = self.media


class Metrics:
    """`GET /metrics`: Prometheus metrics of this process."""

    def on_get(self, _: falcon.Request, response: falcon.Response) -> None:
        response.content_type = CONTENT_TYPE_LATEST
        response.data = generate_latest()


def authenticate(settings: Settings, request: falcon.Request) -> str:
    """The name of the caller whose bearer key this is; compared in constant time with every key. Raises 401."""
    scheme, _, given = (request.auth or "").partition(" ")
    caller = ""
    for name, key in settings.api_keys:
        if hmac.compare_digest(key.reveal().encode(), given.strip().encode()):
            caller = name
    if scheme.lower() != "bearer" or not caller:
        raise falcon.HTTPUnauthorized(
            title="API key refused",
            description="send `Authorization: Bearer <key>` with a key from REFUNDFLOW_API_KEYS",
            challenges=["Bearer"],
        )
    return caller
