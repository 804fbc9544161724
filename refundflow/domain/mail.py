"""What a customer's e-mail asks for, by rules that a shop can edit. Pure, and careful: a rule that is not sure says so.

A mail proves nothing about who wrote it, so the best that it can be is a request that somebody confirms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from refundflow.domain.inbound import MailReceived


@dataclass(frozen=True, slots=True)
class MailRules:
    """`[email]` in the settings. `order_patterns`: regular expressions whose first group is an order's number, tried in this
    order until one finds any; `intent_words`: beginnings of words of which a request has at least one; `ignored_senders`: beginnings of
    addresses that are never answered; `reply`: `portal_link` (the order's own address is sent a link to confirm) or `none`.
    """

    order_patterns: tuple[str, ...] = (
        r"(?:order|bestellung|commande|pedido|ordine)\s*(?:no\.?|nr\.?|number|nummer|n°|nº)?\s*:?\s*(#?[a-z0-9-]*\d[a-z0-9-]*)",
        r"(#\d{3,12})\b",
    )
    intent_words: tuple[str, ...] = (
        "cancel",
        "storn",
        "annul",
        "anul",
        "widerruf",
        "withdraw",
        "rétract",
    )
    ignored_senders: tuple[str, ...] = ("mailer-daemon@", "postmaster@", "no-reply@", "noreply@", "bounce")
    reply: str = "portal_link"


@dataclass(frozen=True, slots=True)
class MailAsks:
    """A request about one order. `number`: as people write it, without a leading `#`."""

    number: str


@dataclass(frozen=True, slots=True)
class MailReplies:
    """An answer to a message of ours, which carries its case's id."""

    case_id: str


@dataclass(frozen=True, slots=True)
class MailUnclear:
    """It asks for a cancellation and does not say, or says twice, of which order: a person reads it."""

    why: str


@dataclass(frozen=True, slots=True)
class MailIgnored:
    why: str


MailReading = MailAsks | MailReplies | MailUnclear | MailIgnored

_CASE: Final = re.compile(r"\bRF-[0-9A-Z]{15}\b")


def read_mail(mail: MailReceived, rules: MailRules) -> MailReading:
    """What the mail asks for. A machine's answer is never a request, however it is worded."""
    if mail.is_automatic:
        return MailIgnored("an automatic answer, a list, or our own mail come back")
    if mail.sender.startswith(tuple(s.lower() for s in rules.ignored_senders)):
        return MailIgnored("its sender is on the list of those that are never answered")
    words = f"{mail.subject}\n{mail.text}"
    if case := _CASE.search(words):
        return MailReplies(case.group())
    lowered = words.lower()
    if not any(re.search(rf"\b{re.escape(word.lower())}", lowered) for word in rules.intent_words):
        return MailIgnored("it says nothing of a cancellation")
    numbers = order_numbers(lowered, rules)
    match len(numbers):
        case 0:
            return MailUnclear("it asks for a cancellation and names no order")
        case 1:
            return MailAsks(numbers[0])
        case _:
            return MailUnclear(f"it names several orders: {', '.join(numbers)}")


def order_numbers(words: str, rules: MailRules) -> list[str]:
    """The different order numbers that the first pattern with any hit finds, in capitals and without `#`."""
    for pattern in rules.order_patterns:
        found = dict.fromkeys(
            hit.group(1).lstrip("#").strip("-").upper() for hit in re.finditer(pattern, words, re.IGNORECASE)
        )
        if found:
            return list(found)
    return []


def rule_problems(rules: MailRules) -> list[str]:
    """What is wrong with a shop's rules, for people."""
    problems = []
    for pattern in rules.order_patterns:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            problems.append(f"order_patterns: {pattern!r} is no regular expression: {error}")
            continue
        if groups < 1:
            problems.append(f"order_patterns: {pattern!r} has no group that is the order's number")
    if not rules.intent_words or not all(rules.intent_words):
        problems.append("intent_words must name at least one word, and none may be empty")
    if rules.reply not in ("portal_link", "none"):
        problems.append(f"reply must be portal_link or none, not '{rules.reply}'")
    return problems
