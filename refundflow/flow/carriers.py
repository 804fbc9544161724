"""What carriers say of our messages: a mail that bounced, a text that a phone never got. Somebody is told."""

from __future__ import annotations

from sqlalchemy import Connection

from refundflow.domain.commands import CommentTicket, SendMessage
from refundflow.domain.inbound import MessageSeen, MessageStatus
from refundflow.domain.plan import REPORT, human_task, tell_staff
from refundflow.domain.states import StepState
from refundflow.domain.steps import Step
from refundflow.flow.carry_out import insert_plan
from refundflow.flow.context import Context, Runner, Wave
from refundflow.flow.settle import settle_locked
from refundflow.store import audit, cases, steps

_WHAT = {
    MessageStatus.BOUNCED: "did not arrive",
    MessageStatus.COMPLAINED: "was called unwanted by its recipient",
    MessageStatus.OPTED_OUT: "met a recipient who wants no more messages",
}


def note_message(
    context: Context, connection: Connection, seen: MessageSeen, runner: Runner
) -> tuple[str, Wave | None]:
    """Writes down what became of a message; a customer who was not reached is a person's task, once per message. Returns the
    case's id ("" where the message is none of ours) and what is to be launched.
    """
    found = steps.load(connection, seen.step_key)
    if found is None:
        return "", None
    case = cases.load(connection, found.case_id, lock=True)
    step = steps.load(connection, seen.step_key, lock=True)
    assert case is not None, "a step's case exists"
    assert step is not None, "a step is never deleted"
    now = context.now()
    audit.write(
        connection,
        case.case_id,
        f"message.{seen.status.value}",
        now=now,
        actor=seen.platform,
        step_key=step.step_key,
        why=seen.why,
    )
    existing = steps.of_case(connection, case.case_id)
    if seen.status is MessageStatus.DELIVERED or not _is_for_customer(step) or _is_told(existing, step):
        return case.case_id, None
    text = (
        f"The message {_template(step)} ({step.step_key}) {_WHAT[seen.status]}: {seen.why or 'no reason was given'}. Reach the customer in "
        "another way and tell what the message says (`refundflow case show` has it), then resolve this task with how it was told."
    )
    planned = [human_task(case.case_id, existing, step.platform, text, None)]
    planned += tell_staff(case.case_id, context.routing_of(case.platform), [*existing, *planned])
    insert_plan(connection, case, planned, existing, now=now, actor=runner.worker)
    return case.case_id, settle_locked(
        context, connection, case, steps.of_case(connection, case.case_id), now=now
    )


def _template(step: Step) -> str:
    return str(getattr(step.command, "template", ""))


def _is_for_customer(step: Step) -> bool:
    is_message = isinstance(step.command, SendMessage | CommentTicket) and _template(step) != REPORT
    return is_message and step.state in (StepState.SUCCEEDED, StepState.PENDING, StepState.UNKNOWN)


def _is_told(existing: list[Step], step: Step) -> bool:
    """Whether a person has been asked about this message before: carriers tell a failure in several words."""
    return any(
        s.action == "human_task" and f"({step.step_key})" in getattr(s.command, "text", "") for s in existing
    )
