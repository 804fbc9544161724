"""`templates`: what customers and staff will read, before anybody does."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from refundflow.cli import desk

app = typer.Typer(help="The messages' templates, ours and the shop's own.", no_args_is_help=True)


class ChannelName(StrEnum):
    EMAIL = "email"
    SLACK = "slack"
    SMS = "sms"


@app.command("check")
def check(ctx: typer.Context, as_json: desk.AsJson = False) -> None:
    """Writes every message with made-up cases; tells every template that is broken, or would never be used."""
    from refundflow.cli import show
    from refundflow.flow.compose import ComposeError

    house = desk.house(ctx)
    problems: list[str] = []
    try:
        house.context.composer.check_templates()
    except ComposeError as error:
        problems = error.reason.splitlines()
    if as_json:
        show.document({"problems": problems})
    for problem in () if as_json else problems:
        show.line(show.err(), f"error: {problem}", "red")
    if problems:
        raise typer.Exit(desk.WRONG)
    if not as_json:
        show.line(show.out(), "every template is sound")


@app.command("preview")
def preview(
    ctx: typer.Context,
    template: Annotated[str, typer.Argument(metavar="MESSAGE", help="A message, such as refund_sent.")],
    channel: Annotated[ChannelName, typer.Option("--channel", help="Where it is read.")] = ChannelName.EMAIL,
    locale: Annotated[str, typer.Option("--locale", help="The customer's language, such as de.")] = "",
    html: Annotated[bool, typer.Option("--html", help="The HTML part instead of the text.")] = False,
    as_json: desk.AsJson = False,
) -> None:
    """A message as it would be sent about a made-up case."""
    from dataclasses import asdict, replace

    from refundflow.cli import show
    from refundflow.flow.compose import MESSAGES, sample_contexts

    house = desk.house(ctx)
    known = MESSAGES[channel.value]
    if template not in known:
        raise desk.MistakeError(
            f"{channel.value} has no message '{template}'", f"there are {', '.join(known)}"
        )
    sample = replace(sample_contexts(template)[0], shop_name=house.context.shop.name, locale=locale)
    composed = house.context.composer.compose(template, channel.value, sample)
    if as_json:
        show.document(asdict(composed))
        return
    words = composed.html or "this message has no HTML part" if html else composed.text
    head = f"Subject: {composed.subject}\n\n" if composed.subject and not html else ""
    console = show.out()
    for line in f"{head}{words}".splitlines():
        show.line(console, line)
