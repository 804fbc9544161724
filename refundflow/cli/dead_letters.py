"""`dead-letters`: steps and broker messages that need a person. Steps are named by key, messages by their digest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from refundflow.cli import desk

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refundflow.domain.steps import Step
    from refundflow.tasks.poison import DeadMessage

app = typer.Typer(help="Steps and messages that need a person.", no_args_is_help=True)

_Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="A step key, or a dead message's id (a unique beginning of 8 or more is enough)."
    ),
]
_SHORTEST: Final = 8


def _is_step(dead_id: str) -> bool:
    return "." in dead_id


@app.command("list")
def list_dead(
    ctx: typer.Context,
    platform: Annotated[str, typer.Option("--platform", help="Only steps of this platform.")] = "",
    code: Annotated[str, typer.Option("--code", help="Only steps that died with this code.")] = "",
    limit: desk.Limit = 200,
    as_json: desk.AsJson = False,
) -> None:
    """Dead steps and dead messages, newest first, with their reasons."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import dead

    def work(connection: Connection) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        steps = dead.dead_steps(connection, platform=platform or None, code=code or None, limit=limit)
        # A filter for steps says that no message is meant.
        return steps, [] if platform or code else dead.messages(connection, limit=limit)

    steps, messages = desk.read(ctx, work)
    if as_json:
        show.document({"steps": steps, "messages": messages})
        return
    console = show.out()
    if not steps and not messages:
        show.line(console, "no dead letter")
    if steps:
        show.line(console, show.count(len(steps), "dead step"), "bold")
        show.table(
            console,
            [
                Column("step"),
                Column("order"),
                Column("platform"),
                Column("amount", is_right=True),
                Column("since"),
                Column("may have acted"),
                Column("why", wraps=True),
            ],
            [
                [
                    s["step_key"],
                    s["order_number"],
                    s["platform"],
                    show.money(s["amount_minor"], s["currency"]),
                    s["ended_at"],
                    "yes" if s["may_have_happened"] else "no",
                    f"{s['code']}: {s['reason']}",
                ]
                for s in steps
            ],
        )
    if messages:
        show.line(console, show.count(len(messages), "dead message"), "bold")
        show.table(
            console,
            [
                Column("message"),
                Column("queue"),
                Column("died"),
                Column("bytes", is_right=True),
                Column("why"),
            ],
            [[m["message_id"], m["queue"], m["died_at"], m["size"], m["reason"]] for m in messages],
        )


@app.command("show")
def show_dead(ctx: typer.Context, dead_id: _Id, as_json: desk.AsJson = False) -> None:
    """One dead letter in full: a step with every try and look, or a message with its headers and body."""
    from refundflow.cli import case_page, show
    from refundflow.cli.advice import advise
    from refundflow.store import steps

    console = show.out()
    if not _is_step(dead_id):
        found = desk.read(ctx, lambda c: _need_message(c, dead_id))
        if as_json:
            show.document(found)
            return
        for name in ("message_id", "reason", "queue", "state", "note", "content_type", "died_at"):
            show.line(console, f"{name}: {show.literal(found[name])}")
        show.heading(console, "Headers")
        for name, value in found["headers"].items():
            show.line(console, f"{name}: {value if isinstance(value, str) else json.dumps(value)}", indent=2)
        show.heading(console, "Body")
        show.line(console, bytes(found["body"]).decode("utf-8", "replace"), indent=2)
        return

    def work(connection: Connection) -> tuple[Step, list[dict[str, Any]]]:
        return desk.need_step(connection, dead_id), steps.attempts_of(connection, dead_id)

    step, attempts = desk.read(ctx, work)
    advice = advise(step, datetime.now(UTC))
    if as_json:
        show.document({"step": step, "attempts": attempts, "next": advice})
        return
    show.line(console, f"{step.step_key}  {step.state.value}", "bold")
    for name, value in (
        ("platform", step.platform),
        ("action", step.action),
        ("amount", step.amount),
        ("reference", step.reference),
        ("code", step.code),
        ("reason", step.reason),
    ):
        if value:
            show.line(console, f"{name}: {value}", indent=2)
    show.heading(console, "Tries and looks")
    if not attempts:
        show.line(console, "none", indent=2)
    for a in attempts:
        told = " ".join(part for part in (a["outcome"], a["code"], a["reference"], a["reason"]) if part)
        show.line(
            console,
            f"{show.when(a['at'])}  {a['move']} {a['phase']}  {told or '-'}  task {a['task_id'] or '-'} on {a['worker']}",
            indent=2,
        )
        for exchange in a["exchanges"]:
            show.line(console, json.dumps(exchange, ensure_ascii=False), indent=6)
    if advice is not None:
        show.heading(console, "Next")
        case_page.print_advice(console, step, advice)


@app.command("replay")
def replay_dead(
    ctx: typer.Context,
    dead_id: _Id,
    queue: Annotated[
        str,
        typer.Option(
            "--queue", help="For a message: the queue to publish it to. [default: where it came from]"
        ),
    ] = "",
    is_executed: desk.Execute = False,
    reason: desk.Reason = "",
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Send one dead letter again: a step after its vendor was asked, a message as it came."""
    who, why = (desk.operator_of(operator), desk.reason_of(reason)) if is_executed else ("", "")
    if _is_step(dead_id):
        if queue:
            raise desk.MistakeError("--queue is for messages; a step knows its queue", "leave --queue out")
        from refundflow.cli.replay import run_replay

        house = desk.house(ctx)
        house.db.run(lambda c: desk.need_step(c, dead_id))
        from refundflow.flow import replay as flow

        chosen = flow.select(house.context, target=dead_id)
        run_replay(house, chosen, is_executed=is_executed, operator=who, reason=why, as_json=as_json)
        return
    found = desk.read(ctx, lambda c: _need_message(c, dead_id))
    target = queue or found["queue"]
    if not target:
        raise desk.MistakeError(
            f"where message {found['message_id']} came from is not known", "name a queue: --queue orders"
        )
    told = f"message {found['message_id']} ({found['reason']}), published to queue {target} again"
    if not _is_going(found["state"], found["message_id"], is_executed, told, as_json):
        return
    from kombu.exceptions import OperationalError

    from refundflow.tasks import poison
    from refundflow.tasks.app import app as celery

    if trouble := desk.broker_trouble():
        raise desk.BrokerAwayError(trouble)
    try:
        poison.republish(celery, _message(found), target)
    except poison.UnknownQueueError as error:
        raise desk.MistakeError(str(error), "queues are intake, orders, money, ledger, notify") from error
    except OperationalError as error:
        raise desk.BrokerAwayError(str(error)) from error
    _close(ctx, found["message_id"], "replayed", who, why, queue=target)
    _tell(found["message_id"], f"replayed to {target}", as_json)


@app.command("discard")
def discard_dead(
    ctx: typer.Context,
    dead_id: _Id,
    reason: desk.Reason,
    is_executed: desk.Execute = False,
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Decide that a dead letter will never run. What needed the step is skipped too; reserved money is given back."""
    from refundflow.cli import show

    who, why = desk.operator_of(operator), desk.reason_of(reason)
    if not _is_step(dead_id):
        found = desk.read(ctx, lambda c: _need_message(c, dead_id))
        told = f"message {found['message_id']} ({found['reason']}), discarded; its bytes are kept"
        if _is_going(found["state"], found["message_id"], is_executed, told, as_json):
            _close(ctx, found["message_id"], "discarded", who, why)
            _tell(found["message_id"], "discarded", as_json)
        return
    house = desk.house(ctx)
    step = house.db.run(lambda c: desk.need_step(c, dead_id))
    amount = f" over {step.amount}" if step.amount else ""
    if not is_executed:
        _only_plan(dead_id, f"{step.action}{amount} at {step.platform} ({step.code}) will never run", as_json)
        return
    from refundflow.flow import replay as flow

    wave = flow.discard(house.context, dead_id, operator=who, reason=why)
    trouble = desk.send_off([wave])
    _tell(dead_id, "discarded", as_json, broker="away" if trouble else "ok")
    if not as_json:
        show.line(show.out(), desk.sent_off([wave], trouble))


@app.command("resolve")
def resolve(
    ctx: typer.Context,
    step_key: desk.StepArgument,
    proof: Annotated[str, typer.Option("--proof", metavar="TEXT", help="What a later reader can check.")],
    happened: Annotated[
        bool | None,
        typer.Option(
            "--happened/--never",
            help="For a step whose vendor cannot be asked: what you found there. --never sends it again.",
        ),
    ] = None,
    is_executed: desk.Execute = False,
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Close a task that a person carried out, or say what you found at a vendor that cannot be asked, with the proof. What
    waited for it goes on.
    """
    from refundflow.cli import show

    who = desk.operator_of(operator)
    if not proof.strip():
        raise desk.MistakeError("a proof is missing", 'give --proof "what a later reader can check"')
    house = desk.house(ctx)
    step = house.db.run(lambda c: desk.need_step(c, step_key))
    if not is_executed:
        said = {
            None: f"task at {step.platform} is done: {proof}",
            True: f"{step.amount or step.action} at {step.platform} happened, and is booked: {proof}",
            False: f"{step.amount or step.action} at {step.platform} never happened, and is SENT AGAIN: {proof}",
        }
        _only_plan(step_key, said[happened], as_json)
        return
    from refundflow.flow import people

    wave = people.resolve(house.context, step_key, operator=who, proof=proof.strip(), happened=happened)
    trouble = desk.send_off([wave])
    _tell(step_key, "resolved", as_json, broker="away" if trouble else "ok")
    if not as_json:
        show.line(show.out(), desk.sent_off([wave], trouble))


def _need_message(connection: Connection, beginning: str) -> dict[str, Any]:
    from refundflow.store import dead, reports

    ids = reports.message_ids(connection, beginning) if len(beginning) >= _SHORTEST else []
    if len(ids) > 1 and beginning not in ids:
        raise desk.MistakeError(f"more than one dead message begins with {beginning}", "give more of its id")
    found = dead.message(connection, ids[0]) if ids else None
    if found is None:
        raise desk.MistakeError(
            f"no dead letter {beginning}", "`refundflow dead-letters list` shows what there is"
        )
    return found


def _is_going(state: str, message_id: str, is_executed: bool, told: str, as_json: bool) -> bool:
    """Whether to act on a message now; prints the plan where that is all that was asked for."""
    from refundflow.flow.context import RefusedError

    if state != "dead":
        raise RefusedError(f"message {message_id} was {state} already")
    if not is_executed:
        _only_plan(message_id, told, as_json)
    return is_executed


def _only_plan(dead_id: str, told: str, as_json: bool) -> None:
    from refundflow.cli import show

    if as_json:
        show.document({"id": dead_id, "plan": told, "is_executed": False})
        return
    show.line(show.out(), told)
    show.line(show.out(), 'nothing was changed; to act, say it again with --execute (and --reason "…")')


def _tell(dead_id: str, did: str, as_json: bool, **more: str) -> None:
    from refundflow.cli import show

    if as_json:
        show.document({"id": dead_id, "did": did, "is_executed": True, **more})
    else:
        show.line(show.out(), f"{dead_id}  {did}")


def _close(ctx: typer.Context, message_id: str, state: str, who: str, why: str, **detail: str) -> None:
    from refundflow.store import audit, dead

    def work(connection: Connection) -> None:
        dead.close_message(connection, message_id, state=state, note=f"{who}: {why}")
        audit.write(
            connection,
            audit.SYSTEM,
            f"message.{state}",
            now=datetime.now(UTC),
            actor=who,
            message_id=message_id,
            reason=why,
            **detail,
        )

    desk.read(ctx, work)


def _message(found: dict[str, Any]) -> DeadMessage:
    from refundflow.tasks.poison import DeadMessage

    return DeadMessage(
        message_id=found["message_id"],
        reason=found["reason"],
        queue=found["queue"],
        headers=found["headers"],
        body=bytes(found["body"]),
        content_type=found["content_type"],
        died_at=found["died_at"],
    )
