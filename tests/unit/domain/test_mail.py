"""What an e-mail asks for: decided by rules, and never guessed."""

from __future__ import annotations

import pytest

from refundflow.domain.inbound import MailReceived
from refundflow.domain.mail import (
    MailAsks,
    MailIgnored,
    MailReading,
    MailReplies,
    MailRules,
    MailUnclear,
    read_mail,
    rule_problems,
)

RULES = MailRules()
SILENT = "it says nothing of a cancellation"
NAMELESS = "it asks for a cancellation and names no order"


def a_mail(
    subject: str, text: str = "", *, sender: str = "ada@example.org", is_automatic: bool = False
) -> MailReceived:
    return MailReceived("<m1@example.org>", sender, subject, text, is_automatic=is_automatic)


@pytest.mark.parametrize(
    ("_case", "subject", "text", "read"),
    [
        ("plain", "Cancel order #1001", "", MailAsks("1001")),
        ("in the text", "Hello", "Please cancel my order 1001, thank you", MailAsks("1001")),
        ("with a prefix", "cancellation", "Order no. AB-1001 please", MailAsks("AB-1001")),
        ("German", "Stornierung", "Bitte Bestellung Nr. 1001 stornieren", MailAsks("1001")),
        ("French", "Annulation", "Annulez la commande n° 1001 svp", MailAsks("1001")),
        ("Spanish", "Anular pedido 1001", "", MailAsks("1001")),
        ("a number sign alone", "please cancel #1001", "", MailAsks("1001")),
        ("twice the same", "Cancel order #1001", "order 1001 please", MailAsks("1001")),
        (
            "two orders",
            "Cancel order 1001",
            "and order 1002",
            MailUnclear("it names several orders: 1001, 1002"),
        ),
        ("no order", "Please cancel", "I changed my mind", MailUnclear(NAMELESS)),
        ("a year is no order", "Please cancel", "I ordered in 2026", MailUnclear(NAMELESS)),
        ("no wish", "Where is order #1001?", "It is late", MailIgnored(SILENT)),
        ("a word that only contains the wish", "uncancelled order 1001", "", MailIgnored(SILENT)),
        (
            "an answer to us",
            "Re: Your order #1001 is cancelled [RF-1M89VEE317PFHQC]",
            "do not cancel!",
            MailReplies("RF-1M89VEE317PFHQC"),
        ),
    ],
)
def test_what_a_mail_asks_for(_case: str, subject: str, text: str, read: MailReading) -> None:
    assert read_mail(a_mail(subject, text), RULES) == read


def test_a_machines_answer_is_no_request_however_it_is_worded() -> None:
    read = read_mail(a_mail("Cancel order #1001", is_automatic=True), RULES)
    assert read == MailIgnored("an automatic answer, a list, or our own mail come back")


@pytest.mark.parametrize(
    "sender", ["mailer-daemon@example.org", "no-reply@etsy.com", "bounces+1@example.org"]
)
def test_machines_are_never_answered(sender: str) -> None:
    read = read_mail(a_mail("Cancel order #1001", sender=sender), RULES)
    assert read == MailIgnored("its sender is on the list of those that are never answered")


def test_a_shop_may_have_rules_of_its_own() -> None:
    rules = MailRules(order_patterns=(r"\b(ART-\d+)\b",), intent_words=("kündig",))
    assert read_mail(a_mail("Ich möchte ART-77 stornieren"), rules) == MailIgnored(SILENT)
    assert read_mail(a_mail("Kündigung von art-77"), rules) == MailAsks("ART-77")


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        (MailRules(order_patterns=("(",)), "order_patterns: '(' is no regular expression: "),
        (
            MailRules(order_patterns=(r"\d+",)),
            r"order_patterns: '\\d+' has no group that is the order's number",
        ),
        (MailRules(intent_words=("",)), "intent_words must name at least one word, and none may be empty"),
        (MailRules(reply="yes"), "reply must be portal_link or none, not 'yes'"),
    ],
)
def test_rules_that_cannot_work_are_told(rules: MailRules, problem: str) -> None:
    (told,) = rule_problems(rules)
    assert told.startswith(problem)


def test_the_shipped_rules_are_sound() -> None:
    assert rule_problems(RULES) == []
