"""Writes messages: a template and what is true now, to the words that a customer or the staff reads.

A shop can put its own wording into a folder of its own, laid out like `templates/` here; a message that is there replaces
ours, text and HTML together. Templates are Jinja, sandboxed, and a name that is not in the context is an error, never a gap.

Honest messages: each template declares the money state that it may speak for, and a context that does not bear it out is
refused, so that "we sent your refund" cannot be said about money that was not sent.

    ComposeError    a template is broken, is missing, or may not be said of this case

What customers typed (names, titles, order numbers) is one line of limited length in every template; in HTML and in Slack it
is escaped where it is printed.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import (
    BaseLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from refundflow.connectors.slack import APPROVE, DECLINE
from refundflow.domain.money import Money
from refundflow.domain.states import CaseState

Channel = Literal["email", "slack", "sms"]

SHIPPED: Final = Path(__file__).parent / "templates"


class MoneyState(StrEnum):
    """What a message says about money. ASKED: nothing beyond that it was asked for. SENT: it left the payer. ARRIVED: it
    is with the customer. FAILED: it was sent and came back. NONE: no money moved.
    """

    ASKED = "asked"
    SENT = "sent"
    ARRIVED = "arrived"
    FAILED = "failed"
    NONE = "none"


#: What each message may say about money. `case_report` is for the staff and shows every step with its own state.
MONEY_STATE: Final[Mapping[str, MoneyState]] = {
    "cancellation_received": MoneyState.ASKED,
    "confirm_request": MoneyState.ASKED,
    "order_cancelled": MoneyState.ASKED,
    "refund_sent": MoneyState.SENT,
    "nothing_charged": MoneyState.NONE,
    "refund_failed": MoneyState.FAILED,
    "cancellation_declined": MoneyState.NONE,
    "case_report": MoneyState.ASKED,
}

#: The messages of each channel.
MESSAGES: Final[Mapping[Channel, tuple[str, ...]]] = {
    "email": (
        "cancellation_received",
        "confirm_request",
        "order_cancelled",
        "refund_sent",
        "nothing_charged",
        "refund_failed",
        "cancellation_declined",
        "case_report",
    ),
    "slack": ("case_report",),
    "sms": ("order_cancelled", "refund_sent", "refund_failed"),
}


@dataclass(frozen=True, slots=True)
class RefundLine:
    """Money that a message speaks of. `method`: what it goes back to ("Visa ending 4242"), may be empty."""

    amount: Money
    method: str = ""


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step as the staff sees it: kind, platform and state by their names; `detail`: why, or the vendor's reference."""

    kind: str
    platform: str
    state: str
    detail: str = ""
    amount: Money | None = None

    @property
    def action(self) -> str:
        """The kind with underscores, however it was written for people: `void_payment`."""
        return self.kind.replace(" ", "_")

    @property
    def needs_person(self) -> bool:
        """A dead letter, and a human task that is still open: nothing goes on until somebody acts."""
        is_open_task = self.action == "human_task" and self.state not in ("succeeded", "skipped", "reversed")
        return self.state == "dead_lettered" or is_open_task


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContext:
    """What is true of a case when a message is written; every field is a name in the templates.

    `lines`: (title, units) that the cancellation is about; `refunds`: the money that this message is about; `is_partial`:
    the rest of the order stays; `reason`: why it was cancelled; `declined_reason`: why not, in the customer's words;
    `locale`: `de`, `pt-BR`; empty: the shop's own language; `refund_days`: business days a refund usually takes; `portal_url`: the
    customer's own page about the order, empty where the shop has none.
    """

    case_id: str
    order_number: str
    shop_name: str
    customer_name: str = ""
    support_email: str = ""
    lines: tuple[tuple[str, int], ...] = ()
    refunds: tuple[RefundLine, ...] = ()
    is_partial: bool = False
    reason: str = ""
    steps: tuple[StepLine, ...] = ()
    case_state: str = ""
    declined_reason: str = ""
    locale: str = ""
    refund_days: int = 10
    portal_url: str = ""

    @property
    def needs_person(self) -> tuple[StepLine, ...]:
        return tuple(step for step in self.steps if step.needs_person)

    @property
    def is_released(self) -> bool:
        """Whether an authorisation was released."""
        return any(step.action == "void_payment" and step.state == "succeeded" for step in self.steps)


@dataclass(frozen=True, slots=True)
class Composed:
    """A written message. `text` is plain (whoever sends it escapes for the channel); `html` and `blocks` (Block Kit as
    JSON text) are ready, and empty where the channel or the template has none. Slack and SMS have no subject.
    """

    subject: str
    text: str
    html: str = ""
    blocks: str = ""


class ComposeError(Exception):
    """A message cannot be written. `where`: template file and line where one is to blame, else the template's name."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


# ---------------------------------------------------------------------------------------------------------------------


class Composer:
    """Writes messages. `overrides`: the shop's folder (`email/order_cancelled.txt.j2`, or for one language
    `email/order_cancelled.de.txt.j2`, each with an `.html.j2` beside it where the shop wants HTML), or None.

    Raises ComposeError for a folder that is not there.
    """

    def __init__(self, overrides: Path | None = None) -> None:
        if overrides is not None and not overrides.is_dir():
            raise ComposeError(str(overrides), "the folder of the shop's own templates is not there")
        self._overrides = overrides
        self._folders = {"shipped": SHIPPED} | ({} if overrides is None else {"shop": overrides})
        loader = PrefixLoader({room: FileSystemLoader(folder) for room, folder in self._folders.items()})
        self._plain = _environment(loader)
        self._html = _environment(loader, autoescape=True)
        self._mrkdwn = _environment(loader, finalize=escape_mrkdwn)

    def compose(self, template: str, channel: Channel, context: MessageContext) -> Composed:
        """The message for this case. Raises ComposeError where the template is missing or broken, or where the context
        does not bear out what it says about money.
        """
        if template not in MESSAGES.get(channel, ()):
            raise ComposeError(template, f"there is no such message for {channel}")
        refusal = contradiction(template, context)
        if refusal:
            raise ComposeError(template, refusal)
        source = self._pick(channel, template, context.locale)
        return self._write(channel, source, context)

    def check_templates(self) -> None:
        """Writes every message in every file with made-up cases, so that a broken one is known at start, not when a
        customer waits. Raises one ComposeError that lists all problems.
        """
        problems = list(self._misplaced())
        for channel, names in MESSAGES.items():
            for name in names:
                for source in self._sources(channel, name):
                    problems += self._problems(channel, name, source)
        if problems:
            raise ComposeError(f"{len(problems)} problem(s) in message templates", "\n".join(problems))

    def _problems(self, channel: Channel, name: str, source: str) -> list[str]:
        found: dict[str, None] = {}
        for sample in sample_contexts(name):
            try:
                self._write(channel, source, sample)
            except ComposeError as error:
                found[str(error)] = None
        return list(found)

    def _write(self, channel: Channel, source: str, context: MessageContext) -> Composed:
        words = names_of(context)
        if channel == "slack":
            shown = self._render(self._mrkdwn, source, words)
            held = context.case_id if context.case_state == CaseState.HELD else ""
            return Composed("", self._render(self._plain, source, words), blocks=blocks_of(shown, held))
        if channel == "sms":
            # One line, as few characters as they are: every line break costs, and every segment is billed.
            return Composed("", " ".join(self._render(self._plain, source, words).split()))
        first, _, body = self._render(self._plain, source, words).partition("\n")
        if not first.startswith("Subject: ") or not first.removeprefix("Subject: ").strip():
            raise ComposeError(f"{self._file(source)}:1", "the first line is `Subject: …`")
        sibling = source.removesuffix(".txt.j2") + ".html.j2"
        html = self._render(self._html, sibling, words) if self._exists(sibling) else ""
        return Composed(first.removeprefix("Subject: ").strip(), body.strip() + "\n", html)

    def _render(self, environment: Environment, source: str, words: Mapping[str, Any]) -> str:
        try:
            return environment.get_template(source).render(words).strip() + "\n"
        except TemplateSyntaxError as error:
            where = f"{error.filename or self._file(source)}:{error.lineno}"
            raise ComposeError(where, error.message or "a syntax error") from error
        except TemplateNotFound as error:
            where = _place(error, self._file(source))
            raise ComposeError(where, f"uses {error.name!r}, which is not there") from error
        except Exception as error:
            # A template is a program that somebody else wrote: it can raise whatever Python can.
            raise ComposeError(
                _place(error, self._file(source)), str(error) or type(error).__name__
            ) from error

    def _pick(self, channel: Channel, template: str, locale: str) -> str:
        """The shop's own text in the customer's language, the shop's own text, or ours."""
        language = locale[:2].lower()
        wanted = [
            *([f"shop/{channel}/{template}.{language}.txt.j2"] if re.fullmatch("[a-z]{2}", language) else []),
            f"shop/{channel}/{template}.txt.j2",
            f"shipped/{channel}/{template}.txt.j2",
        ]
        return next((source for source in wanted if self._exists(source)), wanted[-1])

    def _sources(self, channel: Channel, template: str) -> Iterator[str]:
        """Every text of a message: ours, the shop's, and the shop's in each language."""
        yield f"shipped/{channel}/{template}.txt.j2"
        for path in self._own_files():
            name = _NAME.fullmatch(path.name)
            if name and path.parent.name == channel and (name["message"], name["kind"]) == (template, "txt"):
                yield f"shop/{channel}/{path.name}"

    def _misplaced(self) -> Iterator[str]:
        """Files of the shop that would never be used: a wording that is silently not in force misleads its author."""
        for path in self._own_files():
            channel, name = path.parent.name, _NAME.fullmatch(path.name)
            names = next((found for known, found in MESSAGES.items() if known == channel), ())
            if name is None or name["message"] not in names:
                yield f"{path}: no message is called so (messages: {', '.join(MONEY_STATE)})"
            elif name["kind"] == "html" and channel != "email":
                yield f"{path}: {_CALLED[channel]} shows no HTML"
            elif (
                name["kind"] == "html" and not path.with_name(path.name.replace(".html.", ".txt.")).is_file()
            ):
                yield f"{path}: has no text beside it, and is used only together with one"

    def _own_files(self) -> Iterable[Path]:
        """The shop's message files. A name that begins with `_` is a part that other templates include."""
        if self._overrides is None:
            return ()
        found = self._overrides.rglob("*.j2")
        return sorted(path for path in found if not path.name.startswith("_"))

    def _exists(self, source: str) -> bool:
        return source.partition("/")[0] in self._folders and Path(self._file(source)).is_file()

    def _file(self, source: str) -> str:
        room, _, rest = source.partition("/")
        return str(self._folders[room] / rest)


_CALLED: Final = {"slack": "Slack", "sms": "an SMS"}
_NAME: Final = re.compile(r"(?P<message>[a-z_]+)(\.[a-z]{2})?\.(?P<kind>txt|html)\.j2")


def _environment(loader: BaseLoader, **options: Any) -> Environment:
    return ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **{"autoescape": False, **options},
    )


def _place(error: BaseException, fallback: str) -> str:
    """The template's file and line that an error came from: Jinja writes them into the traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(".j2")]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else fallback


# ---------------------------------------------------------------------------------------------------------------------
# What may be said


def contradiction(template: str, context: MessageContext) -> str:
    """Why this message may not be sent about this case; empty where it may.

    A claim needs the refunds that it is about, and where the case's steps are given, they must bear it out: as many
    refund steps in that state as refunds are told.
    """
    for refund in context.refunds:
        if refund.amount.minor <= 0:
            return f"speaks of a refund of {refund.amount}"
    states = [step.state for step in context.steps if step.action == "refund"]
    match MONEY_STATE[template]:
        case MoneyState.ASKED:
            return ""
        case MoneyState.NONE:
            moved = [state for state in states if state != "skipped"]
            if context.refunds or moved:
                return f"says that no money moved, and the case has {len(context.refunds) or len(moved)} refund(s)"
            return ""
        case MoneyState.FAILED:
            claim, proof = "came back", "reversed"
        case MoneyState.SENT | MoneyState.ARRIVED:
            claim, proof = "was sent", "succeeded"
    if not context.refunds:
        return f"says that money {claim}, and names no refund"
    if states and states.count(proof) < len(context.refunds):
        return f"says of {len(context.refunds)} refund(s) that money {claim}, and the case has {states.count(proof)} such"
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# What templates see

#: Longer than any honest name or title; what is cut off can be read in the case.
_VALUE_CHARS: Final = 300


def names_of(context: MessageContext) -> dict[str, Any]:
    """The context as names for templates, every text in one line: a line break in a name could forge a subject line or
    a paragraph.
    """
    clean = _clean(context)
    return {f.name: getattr(clean, f.name) for f in fields(clean)} | {
        "needs_person": clean.needs_person,
        "is_released": clean.is_released,
    }


def _clean(value: Any) -> Any:
    match value:
        case StrEnum():
            return value
        case str():
            line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
            return line if len(line) <= _VALUE_CHARS else line[: _VALUE_CHARS - 1] + "…"
        case tuple():
            return tuple(_clean(part) for part in value)
        case Money():
            return value
        case _ if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{f.name: _clean(getattr(value, f.name)) for f in fields(value)})
        case _:
            return value


# ---------------------------------------------------------------------------------------------------------------------
# Slack

#: Limits of Block Kit: characters of a section, sections of a message.
_SECTION_CHARS: Final = 3_000
_BLOCKS: Final = 50


def escape_mrkdwn(value: Any) -> str:
    """A printed value that Slack shows as it is: only these three characters can begin a mention, a link or an entity."""
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def blocks_of(mrkdwn: str, held_case: str = "") -> str:
    """Block Kit as JSON text: each paragraph a section, a line `---` a divider. `held_case`: the case that waits for a decision,
    which gets its two buttons.

    `verbatim` keeps Slack from finding channels and people in plain words.
    """
    blocks: list[dict[str, Any]] = []
    for paragraph in re.split(r"\n\s*\n", mrkdwn.strip()):
        if paragraph.strip() == "---":
            blocks.append({"type": "divider"})
            continue
        blocks += [_section(part) for part in _cut(paragraph.splitlines())]
    buttons = [_buttons(held_case)] if held_case else []
    room = _BLOCKS - len(buttons)
    if len(blocks) > room:
        blocks = [*blocks[: room - 1], _section("_The rest did not fit into this message._")]
    return json.dumps([*blocks, *buttons], ensure_ascii=False)


def _buttons(case_id: str) -> dict[str, Any]:
    """Both ask once more before they act: a finger slips, and neither can be taken back."""
    return {
        "type": "actions",
        "elements": [
            _button(
                APPROVE,
                "Approve",
                "primary",
                case_id,
                "The cancellation goes ahead, refunds included.",
            ),
            _button(
                DECLINE,
                "Decline",
                "danger",
                case_id,
                "The request is turned down: nothing is cancelled, and no money goes back.",
            ),
        ],
    }


def _button(action_id: str, label: str, style: str, case_id: str, meaning: str) -> dict[str, Any]:
    return {
        "type": "button",
        "action_id": action_id,
        "text": {"type": "plain_text", "text": label},
        "style": style,
        "value": case_id,
        "confirm": {
            "title": {"type": "plain_text", "text": f"{label} {case_id}?"},
            "text": {"type": "plain_text", "text": meaning},
            "confirm": {"type": "plain_text", "text": label},
            "deny": {"type": "plain_text", "text": "Not now"},
            "style": style,
        },
    }


def _section(mrkdwn: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn, "verbatim": True}}


def _cut(lines: Iterable[str]) -> Iterator[str]:
    """Lines put together to parts that fit into a section; a line that is too long by itself is cut short, never within
    an escaped character.
    """
    part = ""
    for line in lines:
        if len(line) > _SECTION_CHARS:
            line = re.sub(r"&[a-z]*$", "", line[: _SECTION_CHARS - 1]) + "…"
        if part and len(part) + 1 + len(line) > _SECTION_CHARS:
            yield part
            part = line
        else:
            part = f"{part}\n{line}" if part else line
    if part.strip():
        yield part


# ---------------------------------------------------------------------------------------------------------------------
# Made-up cases for checking templates


def sample_contexts(template: str) -> tuple[MessageContext, ...]:
    """Cases that this message may be sent about: full and bare, whole and in part, one refund and several."""
    refunds: tuple[RefundLine, ...] = (
        RefundLine(Money(4250, "EUR"), "Visa ending 4242"),
        RefundLine(Money(1200, "JPY")),
    )
    proof = {MoneyState.SENT: "succeeded", MoneyState.FAILED: "reversed"}.get(
        MONEY_STATE[template], "pending"
    )
    steps: tuple[StepLine, ...] = (
        StepLine("cancel order", "shopify", "succeeded"),
        StepLine("refund", "stripe", proof, "re_1", Money(4250, "EUR")),
        StepLine("refund", "paypal", proof, "", Money(1200, "JPY")),
        StepLine("credit note", "xero", "dead_lettered", "the period is locked"),
        StepLine("human task", "etsy", "planned", "cancel by hand"),
    )
    if MONEY_STATE[template] is MoneyState.NONE:
        refunds, steps = (), (StepLine("void payment", "stripe", "succeeded", "", Money(4250, "EUR")),)
    full = MessageContext(
        case_id="RF-0000000000SAMPLE",
        order_number="#1001",
        shop_name="A Shop",
        customer_name="Ada Lovelace",
        support_email="help@shop.example",
        lines=(("Mug", 2), ("Tea & <biscuits>", 1)),
        refunds=refunds,
        reason="customer",
        steps=steps,
        case_state="attention",
        declined_reason="the order was shipped already",
        locale="en",
        portal_url="https://shop.example/portal?order=1001",
    )
    bare = MessageContext(case_id="RF-0000000000SAMPLE", order_number="1001", shop_name="A Shop")
    samples = (
        full,
        replace(full, is_partial=True, refunds=refunds[:1]),
        replace(bare, refunds=refunds[1:]),
        bare,
        replace(bare, is_partial=True),
    )
    return tuple(sample for sample in samples if not contradiction(template, sample))
