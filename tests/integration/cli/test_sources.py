"""`sources`, `portal link`, `templates`: what comes in and what goes out, before and after it does."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from refundflow.flow.context import Platforms
from refundflow.store import inbox, polls
from tests.integration.cli.desk import T0, Desk

pytestmark = pytest.mark.integration


@pytest.fixture
def heard(desk: Desk) -> Desk:
    """Three sources: one that told something, one that waits and is in trouble, one that is polled and silent."""
    reader: Any = object()
    desk.platforms = Platforms(
        inbound={"api": reader, "stripe": reader, "etsy": reader}, pollers={"etsy": reader}
    )

    def work(connection: Any) -> None:
        kept = {"headers": {}, "body": b"{}", "is_verified": True}
        done = inbox.insert(connection, source="api", source_event_id="1", topic="t", now=T0, **kept)
        inbox.finish(
            connection, done.event_id, state="handled", case_id=None, note="opened", task_id="", now=T0
        )
        late = inbox.insert(connection, source="stripe", source_event_id="1", topic="t", now=T0, **kept)
        inbox.postpone(connection, late.event_id, due_at=T0 + timedelta(days=9), note="waits for shopify")
        polls.begin(connection, ["etsy"], now=T0)
        polls.note_error(connection, "etsy", "no answer", due_at=T0, now=T0)

    desk.db.run(work)
    return desk


def test_sources_tells_of_each_what_came_what_waits_and_what_is_wrong(heard: Desk) -> None:
    result = heard.type("sources", "--json")
    assert result.exit_code == 1, "something is wrong, so a script notices"
    told = {row["source"]: row for row in json.loads(result.stdout)["sources"]}
    assert list(told) == ["api", "stripe", "etsy"]
    assert (told["api"]["waiting"], told["api"]["lag_s"]) == (0, None)
    assert told["stripe"]["waiting"] == 1
    assert told["stripe"]["lag_s"] > 0
    assert (told["etsy"]["last_event_at"], told["etsy"]["trouble"]) == (None, "no answer")
    assert told["etsy"]["ways"] == "/hooks/etsy, polled"


def test_sources_are_a_table_for_people(heard: Desk) -> None:
    told = heard.type("sources").stdout
    assert "POST /v1/cancellations" in told
    assert "never" in told
    assert "no answer" in told


def test_a_portal_link_is_made_where_there_is_a_page(desk: Desk) -> None:
    refused = desk.type("portal", "link", "#1001")
    assert refused.exit_code == 2
    assert "REFUNDFLOW_PORTAL_KEY" in refused.stderr


def test_a_message_is_shown_before_anybody_reads_it(desk: Desk) -> None:
    shown = desk.type("templates", "preview", "refund_sent")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("Subject: Your refund for order #1001 was sent")
    text = desk.type("templates", "preview", "refund_sent", "--channel", "sms").stdout
    assert "Subject" not in text
    assert "42.50 EUR" in text
    assert "<p>" in desk.type("templates", "preview", "refund_sent", "--html").stdout
    wrong = desk.type("templates", "preview", "refund_sent", "--channel", "slack")
    assert wrong.exit_code == 2
    assert "case_report" in wrong.stderr


def test_shipped_templates_are_sound(desk: Desk) -> None:
    assert desk.type("templates", "check").exit_code == 0
