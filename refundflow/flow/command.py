"""The command as it goes out now: what was planned, with what only the rows of this moment know."""

from __future__ import annotations

from dataclasses import replace

from refundflow.domain.commands import (
    AllocateCredit,
    AnyCommand,
    CommentTicket,
    KeepRecord,
    RecordOrderRefund,
    RecordRefund,
    SendMessage,
)
from refundflow.domain.ids import wire_key
from refundflow.domain.steps import Step
from refundflow.flow import tell
from refundflow.flow.context import Context
from refundflow.store import steps


def command_of(context: Context, step: Step) -> AnyCommand:
    """The command as it goes out now: with the step's current key, references of earlier steps, and the text written."""
    command: AnyCommand = replace(step.command, key=wire_key(step.step_key, step.key_number))
    used = _references(context, step)
    match command:
        case AllocateCredit():
            return replace(command, credit_note_id=used["credit_note_id"])
        case RecordRefund():
            # A refund receipt stands alone: no note was written before it.
            note_id = used.get("credit_note_id", "")
            return replace(command, credit_note_id=note_id, refund_reference=used["refund_reference"])
        case RecordOrderRefund():
            return replace(command, refund_references=", ".join(filter(None, used.values())))
        case SendMessage() | CommentTicket() | KeepRecord() as message:
            return context.db.run(lambda connection: tell.write(context, connection, step, message))
        case _:
            return command


def _references(context: Context, step: Step) -> dict[str, str]:
    """The vendors' ids that earlier steps left, by the name under which this step's command wants them."""
    if not step.uses:
        return {}
    others = {s.step_key: s.reference for s in context.db.run(lambda c: steps.of_case(c, step.case_id))}
    return {name: others[key] for name, key in step.uses}
