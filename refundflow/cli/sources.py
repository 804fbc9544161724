"""`sources`: every way in which a cancellation can reach us, and whether it does. `portal link`: a customer's page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundflow.cli import desk

if TYPE_CHECKING:
    from sqlalchemy import Connection

portal = typer.Typer(help="The customer's page.", no_args_is_help=True)


def register(door: typer.Typer) -> None:
    door.command("sources")(sources)
    door.add_typer(portal, name="portal")


@portal.callback()
def _portal() -> None:
    """The customer's page."""


def sources(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """Each source's last event, what waits and for how long, how it is polled, and its last error."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import reports

    house = desk.house(ctx)
    polled = set(house.platforms.pollers)
    names = list(dict.fromkeys([*house.platforms.inbound, *sorted(polled)]))
    now = datetime.now(UTC)

    def work(connection: Connection) -> list[dict[str, Any]]:
        return reports.sources(connection, names, now=now)

    found = house.db.run(work)
    for row in found:
        row["ways"] = _ways(row["source"], row["source"] in polled)
        row["trouble"] = row["poll_error"] or row["last_trouble"]
    if as_json:
        show.document({"sources": found})
    else:
        show.table(
            show.out(),
            [
                Column("source"),
                Column("comes by"),
                Column("last event"),
                Column("24 h", is_right=True),
                Column("waiting", is_right=True),
                Column("lag", is_right=True),
                Column("polled"),
                Column("last error", wraps=True),
            ],
            [
                [
                    row["source"],
                    row["ways"],
                    _ago(row["last_event_at"], now),
                    row["events_24h"],
                    row["waiting"],
                    f"{row['lag_s']:.0f} s" if row["lag_s"] is not None else "",
                    _ago(row["polled_at"], now) if row["source"] in polled else "",
                    row["trouble"],
                ]
                for row in found
            ],
        )
    if any(row["trouble"] for row in found):
        raise typer.Exit(desk.WRONG)


_OWN_WAYS = {
    "api": "POST /v1/cancellations",
    "portal": "the customer's page",
    "inventory-flags": "POST /v1/inventory-flags",
}


def _ways(source: str, is_polled: bool) -> str:
    if source in _OWN_WAYS:
        return _OWN_WAYS[source]
    return f"/hooks/{source}, polled" if is_polled else f"/hooks/{source}"


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "never"
    seconds = max(0, round((now - at).total_seconds()))
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name} ago"
    return f"{seconds} s ago"


@portal.command("link")
def link(
    ctx: typer.Context,
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order's number, such as #1001.")],
    platform: Annotated[
        str, typer.Option("--platform", help="Where the order lives. [default: the shop's order platform]")
    ] = "",
    as_json: desk.AsJson = False,
) -> None:
    """A signed, expiring link to the customer's page about an order: whoever has it may ask for its cancellation."""
    from refundflow.cli import show

    house = desk.house(ctx)
    made = house.context.portal_link(
        platform or house.settings.routing.order_platform, order, house.context.now()
    )
    if not made:
        raise desk.MistakeError(
            "there is no page", "set REFUNDFLOW_PORTAL_KEY, and [portal] base_url in refundflow.toml"
        )
    if as_json:
        show.document({"link": made})
    else:
        show.line(show.out(), made)
