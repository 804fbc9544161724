"""What every door of the front does with what comes in: read it within its limit, commit it, hand it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import falcon
from sqlalchemy import Connection

from refundflow.domain.inbound import Delivery, Verified
from refundflow.ingest.enqueue import Enqueuer
from refundflow.store import inbox
from refundflow.store.inbox import Stored
from refundflow.wiring import House

#: How long a sender is let wait for the database.
DATABASE_PATIENCE_S: Final = 2.0
#: Kept with an event as evidence; everything else a sender puts into headers is not our business.
_KEPT_HEADERS: Final = (
    "content-type",
    "user-agent",
    "idempotency-key",
    "stripe-signature",
    "intuit-signature",
    "x-square-hmacsha256-signature",
    "x-trello-webhook",
    "x-twilio-signature",
    "i-twilio-idempotency-token",
    "x-refundflow-signature",
)
_KEPT_PREFIXES: Final = (
    *("x-shopify-", "shopify-", "x-wc-webhook-", "webhook-", "paypal-"),
    *("x-zendesk-", "x-twilio-email-", "x-slack-"),
)


class Door:
    """What all doors share: reading the body within the limit, storing the event, enqueueing it."""

    def __init__(self, house: House, enqueuer: Enqueuer) -> None:
        self.house = house
        self.enqueuer = enqueuer

    def read_body(self, request: falcon.Request, at_least: int = 0) -> bytes:
        """The body. `at_least`: a higher limit than the shop's general one. Raises 413."""
        limit = max(self.house.settings.ingest.max_body_bytes, at_least)
        if (request.content_length or 0) > limit:
            raise falcon.HTTPContentTooLarge(description=f"the body may have at most {limit} bytes")
        body: bytes = request.bounded_stream.read(limit + 1)
        if len(body) > limit:
            raise falcon.HTTPContentTooLarge(description=f"the body may have at most {limit} bytes")
        return body

    def store(self, source: str, verified: Verified, delivery: Delivery, *, unreadable: str = "") -> Stored:
        """Commits the event, then hands it to the enqueuer. Raises DatabaseAwayError: then nothing is stored."""
        context = self.house.context

        def work(connection: Connection) -> Stored:
            return inbox.insert(
                connection,
                source=source,
                source_event_id=verified.source_event_id,
                topic=verified.topic,
                headers=_kept(delivery.headers),
                body=delivery.body,
                is_verified=True,
                now=context.now(),
                unreadable=unreadable,
            )

        stored = context.db.run(work, patience_s=DATABASE_PATIENCE_S)
        if stored.is_new and not unreadable:
            self.enqueuer.enqueue(stored.event_id)
        return stored


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n in _KEPT_HEADERS or n.startswith(_KEPT_PREFIXES)}
