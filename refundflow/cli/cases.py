"""`case`, `plan` and `why`: what happened to an order's cancellation, what would happen now, and why it was decided so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundflow.cli import desk
from refundflow.domain.states import CaseState

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from refundflow.domain.policy import Decision
    from refundflow.flow.context import Wave

app = typer.Typer(help="Cancellation cases, one per order.", no_args_is_help=True)


def register(door: typer.Typer) -> None:
    """Puts the commands without a noun where people look for them."""
    door.command("plan")(plan)
    door.command("why")(why)


@app.command("list")
def list_cases(
    ctx: typer.Context,
    state: Annotated[CaseState | None, typer.Option("--state", help="Only cases in this state.")] = None,
    order: Annotated[
        str, typer.Option("--order", metavar="NUMBER", help="Only cases of this order (its number or id).")
    ] = "",
    limit: desk.Limit = 50,
    as_json: desk.AsJson = False,
) -> None:
    """Cases, newest first, with how their steps stand."""
    from refundflow.cli import show
    from refundflow.cli.show import Column
    from refundflow.store import cases

    wanted = state.value if state else None
    found = desk.read(ctx, lambda c: cases.listing(c, state=wanted, order=order or None, limit=limit))
    if as_json:
        show.document({"cases": found})
        return
    console = show.out()
    if not found:
        show.line(console, "no case")
        return
    show.table(
        console,
        [
            Column("case"),
            Column("order"),
            Column("state"),
            Column("opened"),
            Column("done", is_right=True),
            Column("dead", is_right=True),
            Column("refunded", is_right=True),
            Column("why", wraps=True),
        ],
        [
            [
                r["case_id"],
                r["order_number"],
                r["state"],
                r["opened_at"],
                f"{r['done']}/{r['steps']}",
                r["dead"] or "",
                show.money(r["refunded"], r["currency"]) if r["refunded"] else "",
                r["why"],
            ]
            for r in found
        ],
    )


@app.command("show")
def show_case(ctx: typer.Context, case_id: desk.CaseArgument, as_json: desk.AsJson = False) -> None:
    """What happened, what is certain, what is not, and what is safe to do next."""
    from datetime import UTC, datetime

    from refundflow.cli import case_page, show

    def work(connection: Connection) -> case_page.CasePage:
        case = desk.need_case(connection, case_id)
        return case_page.load_page(connection, case, datetime.now(UTC))

    page = desk.read(ctx, work)
    if as_json:
        show.document(case_page.to_document(page))
    else:
        case_page.print_page(show.out(), page)


@app.command("approve")
def approve(
    ctx: typer.Context,
    case_id: desk.CaseArgument,
    reason: desk.Reason,
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Let a held case go on, on facts read now. Whoever asked for the cancellation cannot approve it."""
    who, why_so = desk.operator_of(operator), desk.reason_of(reason)
    house = desk.house(ctx)
    house.db.run(lambda c: desk.need_case(c, case_id))
    from refundflow.flow import people

    decision, wave = people.approve(house.context, case_id, operator=who, reason=why_so)
    _tell(case_id, wave, as_json, decision)


@app.command("decline")
def decline(
    ctx: typer.Context,
    case_id: desk.CaseArgument,
    reason: desk.Reason,
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """End a held case without effects. The customer is told."""
    who, why_so = desk.operator_of(operator), desk.reason_of(reason)
    house = desk.house(ctx)
    house.db.run(lambda c: desk.need_case(c, case_id))
    from refundflow.flow import people

    wave = people.decline(house.context, case_id, operator=who, reason=why_so)
    _tell(case_id, wave, as_json, None)


@app.command("replan")
def replan(
    ctx: typer.Context,
    case_id: desk.CaseArgument,
    reason: desk.Reason,
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Plan a case again from facts read now. What is planned already is not planned twice; `plan` shows it first."""
    who, why_so = desk.operator_of(operator), desk.reason_of(reason)
    house = desk.house(ctx)
    house.db.run(lambda c: desk.need_case(c, case_id))
    from refundflow.flow import people

    decision, wave = people.replan(house.context, case_id, operator=who, reason=why_so)
    _tell(case_id, wave, as_json, decision)


def _tell(case_id: str, wave: Wave, as_json: bool, decision: Decision | None) -> None:
    from refundflow.cli import show

    trouble = desk.send_off([wave])
    verdict = decision.verdict.value if decision else "decline"
    if as_json:
        show.document(
            {
                "case_id": case_id,
                "verdict": verdict,
                "reason": decision.reason if decision else "",
                "amount": decision.amount if decision else None,
                "launched": [step.step_key for step in wave.steps],
                "broker": "away" if trouble else "ok",
            }
        )
        return
    console = show.out()
    told = f": {decision.reason}" if decision else ""
    show.line(console, f"{case_id}  {verdict}{told}")
    show.line(console, desk.sent_off([wave], trouble))


def plan(ctx: typer.Context, case_id: desk.CaseArgument, as_json: desk.AsJson = False) -> None:
    """What would be decided and planned from facts read now. Nothing is sent, nothing is written."""
    from refundflow.cli import case_page, show
    from refundflow.cli.show import Column

    house = desk.house(ctx)
    case = house.db.run(lambda c: desk.need_case(c, case_id))
    from refundflow.flow import people

    facts, decision, planned = people.preview(house.context, case)
    if as_json:
        show.document(
            {
                "case_id": case_id,
                "facts": facts,
                "decision": decision,
                "steps": [
                    {
                        "step_key": s.step_key,
                        "wave": s.wave,
                        "kind": s.kind,
                        "action": s.action,
                        "platform": s.platform,
                        "amount": s.amount,
                        "needs": s.needs,
                        "follows": s.follows,
                    }
                    for s in planned
                ],
            }
        )
        return
    console = show.out()
    order = facts.order
    show.line(
        console,
        f"{case_id}  order {order.number} at {order.platform}, read {show.when(facts.read_at)}",
        "bold",
    )
    units = sum(quantity.quantity for quantity in order.unfulfilled)
    lines = f"{show.count(len(order.lines), 'line')}, {show.count(units, 'unit')} to cancel"
    show.line(console, f"order total {order.total}; {lines}", indent=2)
    for payment in facts.payments:
        refunded = show.money(payment.refunded, payment.captured.currency)
        show.line(
            console,
            f"payment {payment.reference} at {payment.platform or payment.gateway}: {payment.state.value}, captured "
            f"{payment.captured}, refunded {refunded}, dispute {payment.dispute.value}",
            indent=2,
        )
    show.heading(console, f"Decision: {decision.verdict.value}, {decision.reason}")
    for number, rule in enumerate(decision.path, start=1):
        show.line(console, f"{number}. {rule}", indent=4)
    show.heading(console, "Steps that would be added")
    if not planned:
        show.line(console, "none", indent=2)
        return
    show.table(
        console,
        [
            Column("step"),
            Column("wave", is_right=True),
            Column("what"),
            Column("platform"),
            Column("amount", is_right=True),
            Column("needs", wraps=True),
        ],
        [
            [
                s.step_key,
                s.wave,
                case_page.what_of(s),
                s.platform,
                s.amount,
                " ".join(key.split(".", 1)[1] for key in s.needs),
            ]
            for s in planned
        ],
    )


def why(ctx: typer.Context, case_id: desk.CaseArgument, as_json: desk.AsJson = False) -> None:
    """Compute the case's stored decisions again from their stored inputs, and compare them bit for bit."""
    from refundflow.cli import show
    from refundflow.domain.policy import decide_case
    from refundflow.store import cases, reports
    from refundflow.store.codec import dump, to_json

    def work(connection: Connection) -> list[dict[str, Any]]:
        desk.need_case(connection, case_id)
        told = []
        for decision_id in cases.decisions_of(connection, case_id):
            kept = cases.load_decision(connection, decision_id)
            now = decide_case(kept.facts, kept.wanted, kept.policy, approved_by=kept.approved_by)
            stored, computed = dump(reports.kept_decision(connection, decision_id)), to_json(now)
            told.append(
                {
                    "decision_id": decision_id,
                    "decided_at": kept.decided_at,
                    "policy_version": kept.policy.version,
                    "approved_by": kept.approved_by,
                    "verdict": kept.decision.verdict,
                    "reason": kept.decision.reason,
                    "path": kept.decision.path,
                    "is_same": stored == computed,
                    "stored": stored,
                    "computed": computed,
                }
            )
        return told

    found = desk.read(ctx, work)
    if as_json:
        show.document({"case_id": case_id, "decisions": found})
    else:
        console = show.out()
        if not found:
            show.line(console, f"{case_id}: nothing was decided yet")
        for d in found:
            approved = f", approved by {d['approved_by']}" if d["approved_by"] else ""
            show.line(
                console,
                f"decision {d['decision_id']}, {show.when(d['decided_at'])}, policy {d['policy_version']}{approved}: "
                f"{d['verdict'].value}",
                "bold",
            )
            for number, rule in enumerate(d["path"], start=1):
                show.line(console, f"{number}. {rule}", indent=2)
            if d["is_same"]:
                show.line(
                    console, "computed again from its stored inputs: the same, bit for bit", "green", indent=2
                )
            else:
                show.line(console, "computed again from its stored inputs: DIFFERENT", "bold red", indent=2)
                show.line(console, f"stored:   {d['stored']}", indent=2)
                show.line(console, f"computed: {d['computed']}", indent=2)
    if not all(d["is_same"] for d in found):
        raise typer.Exit(desk.WRONG)
