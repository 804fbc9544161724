"""Messages: what the shipped ones say, that they cannot be forged, and that they claim only what the case bears out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refundflow.domain.money import Money
from refundflow.domain.states import CaseState, StepState
from refundflow.flow.compose import (
    MESSAGES,
    MONEY_STATE,
    SHIPPED,
    Channel,
    Composed,
    ComposeError,
    Composer,
    MessageContext,
    MoneyState,
    RefundLine,
    StepLine,
    contradiction,
    sample_contexts,
)

CASE = "RF-01JQZ7K3M0ABCDE"
REFUND = RefundLine(Money(4250, "EUR"), "Visa ending 4242")
CONTEXT = MessageContext(
    case_id=CASE,
    order_number="#1001",
    shop_name="Tea & Mugs",
    customer_name="Ada Lovelace",
    support_email="help@shop.example",
    lines=(("Mug", 2), ("Tea", 1)),
    refunds=(REFUND,),
    reason="customer",
    case_state="attention",
)


def compose(template: str, channel: Channel = "email", context: MessageContext = CONTEXT) -> Composed:
    return Composer().compose(template, channel, context)


def every_message() -> list[tuple[Channel, str]]:
    return [(channel, name) for channel, names in MESSAGES.items() for name in names]


def sections(blocks: str) -> list[str]:
    return [block["text"]["text"] for block in json.loads(blocks) if block["type"] == "section"]


# ------------------------------------------------------------------------------------------------ what is said


def test_the_request_is_acknowledged_and_nothing_is_promised() -> None:
    composed = compose("cancellation_received", context=replace(CONTEXT, refunds=()))
    assert composed.subject == f"We received your request to cancel order #1001 [{CASE}]"
    assert composed.text == (
        "Hello Ada Lovelace,\n\n"
        "we received your request to cancel order #1001 at Tea & Mugs. We are looking into it now and will write to you "
        "again as soon as we know what is possible.\n\n"
        "The request is about:\n- 2 x Mug\n- 1 x Tea\n\n"
        "Nothing has been cancelled yet, and you need not do anything.\n\n"
        f"Questions? Write to help@shop.example and mention {CASE}.\n\n"
        "Tea & Mugs\n"
    )
    assert "refund" not in (composed.text + composed.html).lower()


def test_a_cancelled_order_says_that_a_refund_is_being_arranged_not_that_it_was_sent() -> None:
    composed = compose("order_cancelled")
    assert composed.subject == f"Your order #1001 is cancelled [{CASE}]"
    assert composed.text == (
        "Hello Ada Lovelace,\n\n"
        "your order #1001 at Tea & Mugs is cancelled.\n\n"
        "Cancelled:\n- 2 x Mug\n- 1 x Tea\n\n"
        "A refund is due to you and is being arranged:\n- 42.50 EUR (Visa ending 4242)\n\n"
        f"Questions? Write to help@shop.example and mention {CASE}.\n\n"
        "Tea & Mugs\n"
    )
    assert "sent" not in composed.text + composed.html


def test_a_cancelled_part_says_that_the_rest_stays() -> None:
    composed = compose("order_cancelled", context=replace(CONTEXT, is_partial=True, refunds=()))
    assert composed.subject == f"Part of your order #1001 is cancelled [{CASE}]"
    assert "The rest of the order stays as it is." in composed.text
    assert "refund" not in composed.text + composed.html


def test_a_sent_refund_names_amounts_and_days_and_does_not_say_that_it_arrived() -> None:
    refunds = (REFUND, RefundLine(Money(1200, "JPY")))
    composed = compose("refund_sent", context=replace(CONTEXT, refunds=refunds))
    assert composed.text == (
        "Hello Ada Lovelace,\n\n"
        "for order #1001 at Tea & Mugs we sent this back to the payment method you used:\n"
        "- 42.50 EUR (Visa ending 4242)\n- 1200 JPY\n\n"
        "It usually takes up to 10 business days until your bank or payment provider shows it.\n\n"
        f"If it is not there by then, write to help@shop.example and mention {CASE}.\n\n"
        "Tea & Mugs\n"
    )
    assert "received" not in composed.text + composed.html


def test_a_failed_refund_says_that_the_money_is_still_owed() -> None:
    composed = compose("refund_failed")
    assert composed.subject == f"Your refund for order #1001 did not go through [{CASE}]"
    assert "- 42.50 EUR (Visa ending 4242)" in composed.text
    assert "This money has not reached you, and we still owe it to you." in composed.text


@pytest.mark.parametrize(
    ("state", "is_told"), [("succeeded", True), ("planned", False), ("dead_lettered", False)]
)
def test_a_release_is_told_only_once_it_happened(state: str, is_told: bool) -> None:
    context = replace(CONTEXT, refunds=(), steps=(StepLine("void payment", "stripe", state),))
    composed = compose("nothing_charged", context=context)
    assert ("We released the amount that was reserved." in composed.text) is is_told
    assert ("We released the amount that was reserved." in composed.html) is is_told


def test_a_declined_request_says_why() -> None:
    context = replace(CONTEXT, refunds=(), declined_reason="everything was shipped already")
    composed = compose("cancellation_declined", context=context)
    assert "we could not cancel order #1001 at Tea & Mugs: everything was shipped already.\n" in composed.text


def test_an_unknown_scope_is_not_called_a_part() -> None:
    composed = compose("cancellation_received", context=replace(CONTEXT, lines=(), is_partial=True))
    assert "part of" not in composed.text + composed.html


def test_whoever_has_no_name_is_greeted_all_the_same() -> None:
    composed = compose(
        "order_cancelled", context=replace(CONTEXT, customer_name="", support_email="", refunds=())
    )
    assert composed.text.startswith("Hello,\n\nyour order #1001")
    assert "<p>Hello,</p>" in composed.html
    assert "Write to" not in composed.text + composed.html


STEPS = (
    StepLine("cancel order", "shopify", StepState.SUCCEEDED, "gid://1"),
    StepLine("refund", "stripe", StepState.DEAD_LETTERED, "the card is closed", Money(4250, "EUR")),
    StepLine("human task", "etsy", StepState.PLANNED, "cancel by hand"),
    StepLine("human_task", "etsy", StepState.SUCCEEDED, "done"),
)


def test_the_staff_sees_every_step_and_what_needs_a_person_and_the_command_to_type() -> None:
    composed = compose("case_report", "slack", replace(CONTEXT, refunds=(), steps=STEPS))
    assert sections(composed.blocks) == [
        f"*{CASE}* · order #1001 · *attention*\n• 2 x Mug\n• 1 x Tea\nReason: customer",
        "*Steps*\n"
        "• cancel order on shopify: *succeeded* (gid://1)\n"
        "• refund on stripe: *dead_lettered*, 42.50 EUR (the card is closed)\n"
        "• human task on etsy: *planned* (cancel by hand)\n"
        "• human_task on etsy: *succeeded* (done)",
        "*Needs a person*\n• refund on stripe, 42.50 EUR: the card is closed\n• human task on etsy: cancel by hand",
        f"`refundflow case show {CASE}`",
    ]
    assert composed.subject == composed.html == ""
    assert composed.text == "\n\n".join(sections(composed.blocks)) + "\n"


def test_a_held_case_can_be_decided_where_it_is_read() -> None:
    held = json.loads(compose("case_report", "slack", replace(CONTEXT, case_state="held")).blocks)
    assert [block["type"] for block in held] == ["section", "section", "section", "actions"]
    approve, decline = held[-1]["elements"]
    told = [(e["type"], e["action_id"], e["style"], e["text"], e["value"]) for e in (approve, decline)]
    assert told == [
        ("button", "refundflow.approve", "primary", {"type": "plain_text", "text": "Approve"}, CASE),
        ("button", "refundflow.decline", "danger", {"type": "plain_text", "text": "Decline"}, CASE),
    ]
    assert decline["confirm"] == {
        "title": {"type": "plain_text", "text": f"Decline {CASE}?"},
        "text": {
            "type": "plain_text",
            "text": "The request is turned down: nothing is cancelled, and no money goes back.",
        },
        "confirm": {"type": "plain_text", "text": "Decline"},
        "deny": {"type": "plain_text", "text": "Not now"},
        "style": "danger",
    }
    # Money moves on a yes, so that is asked twice as well.
    assert approve["confirm"]["text"]["text"] == "The cancellation goes ahead, refunds included."


@pytest.mark.parametrize("state", ["", *(state for state in CaseState if state is not CaseState.HELD)])
def test_no_other_case_has_buttons(state: str) -> None:
    blocks = json.loads(compose("case_report", "slack", replace(CONTEXT, case_state=state)).blocks)
    assert "actions" not in {block["type"] for block in blocks}


def test_the_buttons_of_a_long_report_stay_within_fifty_blocks() -> None:
    steps = tuple(StepLine("refund", "stripe", "succeeded", "&" * 290) for _ in range(200))
    context = replace(CONTEXT, steps=steps, refunds=(), case_state="held")
    blocks = json.loads(compose("case_report", "slack", context).blocks)
    assert len(blocks) == 50
    assert blocks[-2]["text"]["text"] == "_The rest did not fit into this message._"
    assert blocks[-1]["type"] == "actions"


def test_staff_that_is_told_by_email_reads_the_same() -> None:
    composed = compose("case_report", "email", replace(CONTEXT, refunds=(), steps=STEPS))
    assert composed.subject == f"Case {CASE}: order #1001, attention, needs a person"
    assert composed.text.endswith(
        "Needs a person:\n- refund on stripe, 42.50 EUR: the card is closed\n- human task on etsy: cancel by hand\n\n"
        f"refundflow case show {CASE}\n"
    )


@pytest.mark.parametrize(("channel", "name"), every_message())
def test_every_shipped_template_renders_for_every_sample(channel: Channel, name: str) -> None:
    samples = sample_contexts(name)
    assert len(samples) >= 2
    for sample in samples:
        composed = compose(name, channel, sample)
        # A text on the telephone is found again by what its carrier adds, not by our case.
        sign = sample.order_number if channel == "sms" else sample.case_id
        assert sign in composed.subject + composed.text
        assert bool(composed.subject) is (channel == "email")
        assert bool(composed.html) is (channel == "email" and name != "case_report")
        assert bool(composed.blocks) is (channel == "slack")


def test_every_message_has_a_template_a_money_state_and_nothing_lies_about() -> None:
    assert {name for _, name in every_message()} == set(MONEY_STATE)
    texts = {f"{path.parent.name}/{path.name.removesuffix('.txt.j2')}" for path in SHIPPED.rglob("*.txt.j2")}
    assert texts == {f"{channel}/{name}" for channel, name in every_message()}
    html = {path.name.split(".")[0] for path in SHIPPED.rglob("*.html.j2")} - {"_base", "_parts"}
    assert html == set(MESSAGES["email"]) - {"case_report"}


def test_text_and_html_say_the_same_words() -> None:
    for name in MESSAGES["email"]:
        if name == "case_report":
            continue
        composed = compose(name, "email", sample_contexts(name)[0])
        for line in composed.text.splitlines():
            # The line that names the address is a link in HTML and worded for it.
            if line and "help@" not in line:
                words = (
                    line.removeprefix("- ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
                )
                shown = composed.html.replace("<strong>", "").replace("</strong>", "")
                assert words in shown, (name, words)


# ------------------------------------------------------------------------------------------------ what may be said


def case_of(*states: str, refunds: int = 0) -> MessageContext:
    steps = tuple(StepLine("refund", "stripe", state) for state in states)
    return replace(CONTEXT, refunds=(REFUND,) * refunds, steps=steps)


@pytest.mark.parametrize(
    ("_case", "template", "context", "why"),
    [
        ("sent, and no refund is named", "refund_sent", case_of(), "says that money was sent, and names no refund"),
        ("sent, and the only refund is on its way", "refund_sent", case_of("pending", refunds=1),
         "says of 1 refund(s) that money was sent, and the case has 0 such"),
        ("sent, and nobody knows", "refund_sent", case_of("unknown", refunds=1),
         "says of 1 refund(s) that money was sent, and the case has 0 such"),
        ("two are told, one was sent", "refund_sent", case_of("succeeded", "dead_lettered", refunds=2),
         "says of 2 refund(s) that money was sent, and the case has 1 such"),
        ("one is told, one was sent", "refund_sent", case_of("succeeded", "dead_lettered", refunds=1), ""),
        ("sent, and the steps are not given", "refund_sent", case_of(refunds=1), ""),
        ("failed, and no refund is named", "refund_failed", case_of("reversed"), "says that money came back, and names no refund"),
        ("failed, and it did not", "refund_failed", case_of("succeeded", refunds=1),
         "says of 1 refund(s) that money came back, and the case has 0 such"),
        ("failed", "refund_failed", case_of("reversed", refunds=1), ""),
        ("nothing charged, and money went back", "nothing_charged", case_of(refunds=1),
         "says that no money moved, and the case has 1 refund(s)"),
        ("nothing charged, and a refund may have gone", "nothing_charged", case_of("unknown"),
         "says that no money moved, and the case has 1 refund(s)"),
        ("nothing charged, a refund was planned and left out", "nothing_charged", case_of("skipped"), ""),
        ("declined, and a refund is on its way", "cancellation_declined", case_of("pending"),
         "says that no money moved, and the case has 1 refund(s)"),
        ("cancelled, whatever the refund does", "order_cancelled", case_of("dead_lettered", refunds=1), ""),
        ("a refund of nothing", "order_cancelled", replace(CONTEXT, refunds=(RefundLine(Money(0, "EUR")),)),
         "speaks of a refund of 0.00 EUR"),
        ("a refund of less than nothing", "refund_sent", replace(CONTEXT, refunds=(RefundLine(Money(-5, "EUR")),)),
         "speaks of a refund of -0.05 EUR"),
    ],
)  # fmt: skip
def test_a_message_claims_only_what_the_case_bears_out(
    _case: str, template: str, context: MessageContext, why: str
) -> None:
    assert contradiction(template, context) == why
    if why:
        with pytest.raises(ComposeError) as refused:
            compose(template, context=context)
        assert str(refused.value) == f"{template}: {why}"
    else:
        assert compose(template, context=context).subject


def test_a_message_that_does_not_exist_is_refused() -> None:
    for template, channel in (("order_canceled", "email"), ("order_cancelled", "slack"), ("_base", "email")):
        with pytest.raises(ComposeError, match=f"{template}: there is no such message for {channel}"):
            compose(template, channel)  # type: ignore[arg-type]  # the tuple's channels are plain texts to mypy


def test_only_messages_that_say_so_speak_of_sent_money() -> None:
    assert [name for name, state in MONEY_STATE.items() if state is MoneyState.SENT] == ["refund_sent"]


# ------------------------------------------------------------------------------------------------ what cannot be forged


def test_a_hostile_name_is_escaped_in_html_and_plain_in_text() -> None:
    context = replace(
        CONTEXT, customer_name='<img src=x onerror="alert(1)">', lines=(("<b>Mug</b> & co", 1),)
    )
    composed = compose("order_cancelled", context=context)
    assert "<p>Hello &lt;img src=x onerror=&#34;alert(1)&#34;&gt;,</p>" in composed.html
    assert "<li>1 x &lt;b&gt;Mug&lt;/b&gt; &amp; co</li>" in composed.html
    assert 'Hello <img src=x onerror="alert(1)">,' in composed.text


def test_line_breaks_in_what_customers_typed_forge_neither_subject_nor_paragraph() -> None:
    context = replace(
        CONTEXT, order_number="1001\r\nBcc: all@shop.example", customer_name="Ada\n\nYour refund was sent"
    )
    composed = compose("order_cancelled", context=context)
    assert composed.subject == f"Your order 1001 Bcc: all@shop.example is cancelled [{CASE}]"
    assert composed.text.splitlines()[0] == "Hello Ada Your refund was sent,"


def test_template_words_in_a_name_are_not_run() -> None:
    composed = compose("order_cancelled", context=replace(CONTEXT, customer_name="{{ 7 * 7 }}{% raw %}"))
    assert composed.text.startswith("Hello {{ 7 * 7 }}{% raw %},")


def test_names_without_end_are_cut() -> None:
    composed = compose("order_cancelled", context=replace(CONTEXT, customer_name="A" * 100_000))
    assert composed.text.splitlines()[0] == f"Hello {'A' * 299}…,"


def test_slack_mentions_and_links_in_what_customers_typed_stay_words() -> None:
    context = replace(
        CONTEXT, order_number="<!channel>", lines=(("<https://evil.example|free> & <@U1>", 1),), refunds=()
    )
    composed = compose("case_report", "slack", context)
    assert sections(composed.blocks)[0] == (
        f"*{CASE}* · order &lt;!channel&gt; · *attention*\n"
        "• 1 x &lt;https://evil.example|free&gt; &amp; &lt;@U1&gt;\nReason: customer"
    )
    # The fallback text is plain here: the connector escapes it when it is sent.
    assert "order <!channel> ·" in composed.text
    assert all(block["text"]["verbatim"] is True for block in json.loads(composed.blocks))


@given(st.text(), st.text(max_size=5_000), st.lists(st.text(max_size=400), max_size=120))
def test_blocks_are_valid_whatever_customers_typed(number: str, reason: str, details: list[str]) -> None:
    steps = tuple(StepLine("refund", "stripe", "dead_lettered", detail) for detail in details)
    context = replace(CONTEXT, order_number=number, reason=reason, steps=steps, refunds=())
    blocks = json.loads(compose("case_report", "slack", context).blocks)
    assert 1 <= len(blocks) <= 50
    for block in blocks:
        assert 1 <= len(block["text"]["text"]) <= 3_000
        assert "<" not in block["text"]["text"]


def test_a_report_of_very_many_steps_is_spread_over_sections_and_cut_at_fifty() -> None:
    steps = tuple(StepLine("refund", "stripe", "succeeded", "&" * 290) for _ in range(200))
    blocks = json.loads(
        compose("case_report", "slack", replace(CONTEXT, steps=steps, refunds=())).blocks
    )  # fmt: skip
    assert len(blocks) == 50
    assert blocks[-1]["text"]["text"] == "_The rest did not fit into this message._"


# ------------------------------------------------------------------------------------------------ a shop's own wording


def shop(folder: Path, **files: str) -> Composer:
    """A composer with files of a shop; `email__order_cancelled__txt` is `email/order_cancelled.txt.j2`."""
    for name, text in files.items():
        channel, *stem = name.split("__")
        path = folder / channel / f"{'.'.join(stem)}.j2"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Composer(folder)


OWN: dict[str, str] = {
    "email__order_cancelled__txt": "Subject: Sorry, {{ order_number }}\n\nBye {{ customer_name }}!\n"
}


def test_a_shops_own_text_replaces_ours_and_its_html(tmp_path: Path) -> None:
    own = shop(tmp_path, **OWN)
    own.check_templates()
    assert own.compose("order_cancelled", "email", CONTEXT) == Composed("Sorry, #1001", "Bye Ada Lovelace!\n")
    assert own.compose("refund_sent", "email", CONTEXT) == compose("refund_sent")


def test_a_shops_own_html_is_escaped_like_ours_and_can_build_on_ours(tmp_path: Path) -> None:
    html = '{% extends "shipped/email/_base.html.j2" %}{% block body %}<p>Bye {{ customer_name }}</p>{% endblock %}'
    own = shop(tmp_path, **OWN, email__order_cancelled__html=html)
    own.check_templates()
    composed = own.compose("order_cancelled", "email", replace(CONTEXT, customer_name="<b>"))
    assert "<p>Bye &lt;b&gt;</p>" in composed.html
    assert "<p>Tea &amp; Mugs</p>" in composed.html


@pytest.mark.parametrize(
    ("locale", "subject"),
    [("de", "Schade"), ("de-AT", "Schade"), ("DE_ch", "Schade"), ("fr", "Sorry, #1001"), ("", "Sorry, #1001"),
     ("../de", "Sorry, #1001")],
)  # fmt: skip
def test_a_shop_can_write_in_its_customers_languages(tmp_path: Path, locale: str, subject: str) -> None:
    own = shop(tmp_path, **OWN, email__order_cancelled__de__txt="Subject: Schade\n\nTschüss.\n")
    own.check_templates()
    assert own.compose("order_cancelled", "email", replace(CONTEXT, locale=locale)).subject == subject


def test_a_shops_own_slack_report_keeps_blocks_valid_and_escaped(tmp_path: Path) -> None:
    own = shop(tmp_path, slack__case_report__txt='Order "{{ order_number }}"\n\n---\n\n`{{ case_id }}`\n')
    own.check_templates()
    composed = own.compose("case_report", "slack", replace(CONTEXT, order_number='<!here> "}'))
    assert json.loads(composed.blocks) == [
        {
            "type": "section",
            "text": {"type": "mrkdwn", "text": 'Order "&lt;!here&gt; "}"', "verbatim": True},
        },
        {"type": "divider"},
        {"type": "section", "text": {"type": "mrkdwn", "text": f"`{CASE}`", "verbatim": True}},
    ]


@pytest.mark.parametrize(
    ("_case", "text", "line", "why"),
    [
        ("a typing error in a name", "Subject: x\n\nHi {{ custmer_name }}\n", 3, "'custmer_name' is undefined"),
        ("a block that is not closed", "Subject: x\n\n{% if is_partial %}\nHi\n", 4, "Unexpected end of template."),
        ("a name of a line", "Subject: x\n{% for r in refunds %}\n{{ r.total }}\n{% endfor %}\n", 3, "has no attribute 'total'"),
        ("a way out of the sandbox", "Subject: x\n\n{{ refunds.__class__.__mro__ }}\n", 3, "access to attribute '__class__'"),
        ("arithmetic", "Subject: x\n\n{{ 1 / 0 }}\n", 3, "division by zero"),
        ("no subject", "Hello\n", 1, "the first line is `Subject: …`"),
        ("an empty subject", "Subject: {{ '' }}\nHello\n", 1, "the first line is `Subject: …`"),
    ],
)  # fmt: skip
def test_a_broken_template_of_a_shop_is_told_with_file_and_line(
    tmp_path: Path, _case: str, text: str, line: int, why: str
) -> None:
    own = shop(tmp_path, email__order_cancelled__txt=text)
    where = f"{tmp_path / 'email' / 'order_cancelled.txt.j2'}:{line}"
    with pytest.raises(ComposeError) as broken:
        own.compose("order_cancelled", "email", CONTEXT)
    assert broken.value.where == where
    assert why in broken.value.reason
    with pytest.raises(ComposeError) as found:
        own.check_templates()
    assert found.value.where == "1 problem(s) in message templates"
    assert found.value.reason.startswith(f"{where}: ")


def test_a_broken_html_and_a_missing_part_are_told_too(tmp_path: Path) -> None:
    own = shop(
        tmp_path, **OWN, email__order_cancelled__html='<p>\n{% include "shop/email/_foot.html.j2" %}\n'
    )
    with pytest.raises(ComposeError) as broken:
        own.compose("order_cancelled", "email", CONTEXT)
    assert broken.value.reason == "uses 'shop/email/_foot.html.j2', which is not there"
    assert broken.value.where.endswith("email/order_cancelled.html.j2:2")


def test_all_problems_are_told_at_once_and_a_name_that_is_never_used_is_one(tmp_path: Path) -> None:
    own = shop(
        tmp_path,
        email__order_canceled__txt="Subject: x\n\nHi\n",
        email__refund_sent__html="<p>Hi</p>",
        email__refund_failed__txt="Hi\n",
        slack__case_report__html="<p>",
        fax__order_cancelled__txt="Subject: x\n",
        email___foot__html="<p>",
    )
    with pytest.raises(ComposeError) as found:
        own.check_templates()
    known = f"no message is called so (messages: {', '.join(MONEY_STATE)})"
    assert found.value.reason.splitlines() == [
        f"{tmp_path}/email/order_canceled.txt.j2: {known}",
        f"{tmp_path}/email/refund_sent.html.j2: has no text beside it, and is used only together with one",
        f"{tmp_path}/fax/order_cancelled.txt.j2: {known}",
        f"{tmp_path}/slack/case_report.html.j2: Slack shows no HTML",
        f"{tmp_path}/email/refund_failed.txt.j2:1: the first line is `Subject: …`",
    ]
    assert found.value.where == "5 problem(s) in message templates"


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ComposeError, match="the folder of the shop's own templates is not there"):
        Composer(tmp_path / "nowhere")


def test_what_ships_is_sound() -> None:
    Composer().check_templates()


def test_an_error_survives_being_rebuilt_from_its_arguments() -> None:
    error: Any = ComposeError("a.j2:1", "why")
    assert str(type(error)(*error.args)) == "a.j2:1: why"
