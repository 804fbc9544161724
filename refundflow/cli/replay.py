"""`replay`: dead steps go again, after their vendors were asked; the plan with its counts and money comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from refundflow.cli import desk
from refundflow.domain.steps import StepKind

if TYPE_CHECKING:
    from refundflow.domain.steps import Step
    from refundflow.flow.context import Wave
    from refundflow.flow.replay import ReplayPlan
    from refundflow.wiring import House


def register(door: typer.Typer) -> None:
    door.command("replay")(replay)


def replay(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="[CASE|STEP]", help="A case's dead steps, or one step.")
    ] = "",
    platform: Annotated[str, typer.Option("--platform", help="Only steps of this platform.")] = "",
    kind: Annotated[StepKind | None, typer.Option("--kind", help="Only steps of this kind.")] = None,
    code: Annotated[str, typer.Option("--code", help="Only steps that died with this code.")] = "",
    is_all: Annotated[
        bool, typer.Option("--all", help="Every dead step. Must be said where nothing else narrows it down.")
    ] = False,
    limit: desk.Limit = 200,
    is_executed: desk.Execute = False,
    reason: desk.Reason = "",
    operator: desk.Operator = "",
    as_json: desk.AsJson = False,
) -> None:
    """Send dead steps again. The vendor is asked first: what happened already is recorded, never sent twice."""
    if not (target or platform or kind or code or is_all):
        raise desk.MistakeError(
            "what should be replayed?",
            "name a case or a step, narrow it down (--platform, --kind, --code), or say --all",
        )
    if is_all and target:
        raise desk.MistakeError(f"--all and {target} contradict each other", "give one of them")
    who, why = (desk.operator_of(operator), desk.reason_of(reason)) if is_executed else ("", "")
    house = desk.house(ctx)
    if "." in target:
        house.db.run(lambda c: desk.need_step(c, target))
    elif target:
        house.db.run(lambda c: desk.need_case(c, target))
    from refundflow.flow import replay as flow

    chosen = flow.select(
        house.context,
        target=target,
        platform=platform or None,
        kind=kind.value if kind else None,
        code=code or None,
        limit=limit,
    )
    run_replay(house, chosen, is_executed=is_executed, operator=who, reason=why, as_json=as_json)


def run_replay(
    house: House, chosen: list[Step], *, is_executed: bool, operator: str, reason: str, as_json: bool
) -> None:
    """Prints the plan for the chosen steps, and carries it out where that was asked for."""
    from refundflow.cli import show
    from refundflow.flow import replay as flow

    plan = flow.preview(house.context, chosen)
    if not as_json:
        _print_plan(plan)
    ended, waves = _carry_out(house, plan, operator, reason) if is_executed else ([], [])
    trouble = desk.send_off(waves)
    if as_json:
        show.document(
            {
                "steps": [
                    {
                        "step_key": line.step.step_key,
                        "kind": line.step.kind,
                        "platform": line.step.platform,
                        "amount": line.step.amount,
                        "code": line.step.code,
                        "answer": line.answer,
                        "will": line.will,
                        "is_refused": line.is_refused,
                    }
                    for line in plan.steps
                ],
                "money": plan.money,
                "is_executed": is_executed,
                "results": ended,
                "broker": "away" if trouble else "ok",
            }
        )
    elif is_executed:
        console = show.out()
        for result in ended:
            show.line(
                console,
                f"{result['step_key']}  {result['did']}{': ' + result['why'] if result['why'] else ''}",
            )
        show.line(console, desk.sent_off(waves, trouble))
    elif plan.steps:
        show.line(show.out(), 'nothing was changed; to act, say it again with --execute --reason "…"')
    if any(result["did"] == "refused" for result in ended):
        raise typer.Exit(desk.WRONG)


def _print_plan(plan: ReplayPlan) -> None:
    from refundflow.cli import show
    from refundflow.cli.show import Column

    console = show.out()
    if not plan.steps:
        show.line(console, "no dead step matches")
        return
    going = [line for line in plan.steps if not line.is_refused]
    money = ", ".join(str(amount) for amount in plan.money) or "no money"
    show.line(
        console,
        f"{show.count(len(plan.steps), 'dead step')}: {len(going)} to go again, {len(plan.steps) - len(going)} refused; "
        f"{money} may go out",
        "bold",
    )
    show.table(
        console,
        [
            Column("step"),
            Column("platform"),
            Column("amount", is_right=True),
            Column("died of"),
            Column("the vendor says", wraps=True),
            Column("would", wraps=True),
        ],
        [
            [s.step.step_key, s.step.platform, s.step.amount, s.step.code, s.answer, s.will]
            for s in plan.steps
        ],
    )


def _carry_out(
    house: House, plan: ReplayPlan, operator: str, reason: str
) -> tuple[list[dict[str, Any]], list[Wave]]:
    """One step at a time: a step whose money is gone is refused alone, and the others go on."""
    from refundflow.flow import replay as flow
    from refundflow.flow.context import RefusedError

    ended: list[dict[str, Any]] = []
    waves: list[Wave] = []
    for line in plan.steps:
        did, why = "left alone", line.will
        try:
            made = flow.execute(house.context, flow.ReplayPlan((line,), ()), operator=operator, reason=reason)
        except RefusedError as error:
            made, did, why = [], "refused", error.reason
        if made:
            did, why = "goes again", "asks the vendor before anything is sent"
        waves += made
        ended.append({"step_key": line.step.step_key, "did": did, "why": why})
    return ended, waves
