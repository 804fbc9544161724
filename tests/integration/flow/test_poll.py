"""Polling over a real database: what a platform tells is kept once, and the cursor never runs ahead of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from refundflow.connectors.base import Health, NoAnswer, Polled, PolledEvent, Spec
from refundflow.domain.outcomes import Retryable, Unknown
from refundflow.flow import poll, sweep
from refundflow.flow.context import Context, Platforms
from refundflow.store import polls
from refundflow.store.db import rows
from refundflow.transport.base import MaybeSentError, NotSentError
from tests.support.practice import Shop

pytestmark = pytest.mark.integration

SLUG = "woocommerce"


@dataclass
class Feed:
    """A platform with a list of changes; a cursor is a place in it. `page`: how many it tells at once."""

    spec: ClassVar[Spec] = Spec(SLUG, "1", "https://feed.example", {}, 1.0, 1)
    changes: list[str]
    page: int = 2
    asked: list[str] = field(default_factory=list)
    trouble: list[NoAnswer | Exception] = field(default_factory=list)
    before: Callable[[], Any] = lambda: None

    def check(self) -> Health:
        return Health(True, "")

    def poll(self, cursor: str, now: datetime) -> Polled | NoAnswer:
        self.asked.append(cursor)
        self.before()
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        # Windows overlap by one change, as a careful poller's do.
        start = max(0, int(cursor or "0") - 1)
        found = self.changes[start : start + self.page]
        end = start + len(found)
        events = tuple(PolledEvent(name, "order.updated", b'{"id": 1}') for name in found)
        return Polled(events, str(end), has_more=end < len(self.changes))


def watching(shop: Shop, feed: Feed) -> Context:
    platforms = Platforms(pollers={SLUG: feed})
    context = replace(shop.context, platforms=platforms, poll_s=60.0)
    context.db.run(lambda connection: polls.begin(connection, [SLUG], now=context.now()))
    return context


def names(context: Context) -> list[str]:
    found = context.db.run(lambda c: rows(c, "SELECT source_event_id FROM events ORDER BY id"))
    return [r["source_event_id"] for r in found]


def state(context: Context) -> dict[str, Any]:
    (found,) = context.db.run(polls.all_of)
    return found


def look_all(context: Context) -> int:
    """As the task does: on until nothing more is told. Returns how many events were new."""
    new, looked = 0, poll.poll(context, SLUG)
    new += len(looked.new)
    while looked.has_more:
        looked = poll.poll(context, SLUG)
        new += len(looked.new)
    return new


def test_everything_is_kept_once_though_windows_overlap_and_looks_repeat(shop: Shop) -> None:
    feed = Feed(["a", "b", "c", "d", "e"])
    context = watching(shop, feed)
    assert look_all(context) == 5
    assert names(context) == ["a", "b", "c", "d", "e"]
    assert look_all(context) == 0
    feed.changes.append("f")
    assert look_all(context) == 1
    assert names(context) == ["a", "b", "c", "d", "e", "f"]
    kept = context.db.run(lambda c: rows(c, "SELECT DISTINCT is_verified, state, topic, source FROM events"))
    assert kept == [{"is_verified": True, "state": "new", "topic": "order.updated", "source": SLUG}]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (NotSentError("refused"), "refused"),
        (MaybeSentError("reset"), "reset"),
        (Retryable("throttled", "slow down", 30.0), "slow down"),
        (Unknown("an HTML page"), "an HTML page"),
    ],
)
def test_a_look_that_failed_is_said_and_begins_again_where_it_was(
    shop: Shop, trouble: NoAnswer | Exception, why: str
) -> None:
    feed = Feed(["a"], trouble=[trouble])
    context = watching(shop, feed)
    assert poll.poll(context, SLUG) == poll.Looked(SLUG, problem=why)
    assert (state(context)["last_error"], state(context)["cursor"], names(context)) == (why, "", [])
    assert state(context)["due_at"] > context.now()
    assert look_all(context) == 1
    assert feed.asked == ["", ""]
    assert state(context)["last_error"] == ""


def test_two_looks_at_once_keep_each_change_once_and_move_the_cursor_once(shop: Shop) -> None:
    both = threading.Barrier(2)
    feed = Feed(["a", "b"], before=lambda: both.wait(10))
    context = watching(shop, feed)
    threads = [threading.Thread(target=poll.poll, args=(context, SLUG)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(names(context)) == ["a", "b"]
    assert state(context)["cursor"] == "2"


def test_the_sweep_takes_up_a_look_whose_message_was_lost_and_leaves_it_until_it_is_due(shop: Shop) -> None:
    context = watching(shop, Feed(["a"]))
    assert sweep.sweep(context).polls == (SLUG,)
    assert sweep.sweep(context).polls == ()
    shop.clock.jump(context.relaunch_s + 1)
    assert sweep.sweep(context).polls == (SLUG,)
    poll.poll(context, SLUG)
    shop.clock.jump(context.poll_s - 1)
    assert sweep.sweep(context).polls == ()
    shop.clock.jump(2)
    assert sweep.sweep(context).polls == (SLUG,)


def test_a_platform_that_is_no_longer_set_up_is_not_swept(shop: Shop) -> None:
    context = watching(shop, Feed(["a"]))
    gone = replace(context, platforms=Platforms())
    assert sweep.sweep(gone).polls == ()
    assert poll.poll(gone, SLUG).problem == "not configured for polling"


def test_a_missed_day_is_fetched_page_by_page(shop: Shop) -> None:
    feed = Feed([f"n{n:03d}" for n in range(250)], page=50)
    context = watching(shop, feed)
    context.db.run(
        lambda c: polls.move(
            c,
            SLUG,
            was="",
            cursor="1",
            due_at=datetime.now(UTC) - timedelta(days=1),
            now=context.now(),
            found_any=False,
        )
    )
    assert look_all(context) == 250
    assert len(set(names(context))) == 250
