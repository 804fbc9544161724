"""One case on one page: what happened, what is certain, what is not, what is safe to do next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from refundflow.cli import show
from refundflow.cli.advice import Advice, advise, advise_case
from refundflow.cli.show import Column
from refundflow.domain.arbiter import Verdict, name_payer
from refundflow.domain.commands import SendMessage
from refundflow.domain.facts import DisputeState
from refundflow.domain.money import Money
from refundflow.domain.steps import Step
from refundflow.store import audit, cases, ledger, payments, reports, steps
from refundflow.store.cases import Case, KeptDecision

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class CasePage:
    """All rows about one case, read in one snapshot."""

    case: Case
    sources: list[dict[str, Any]]
    decision: KeptDecision | None
    approvals: list[dict[str, Any]]
    steps: list[Step]
    times: dict[str, dict[str, Any]]
    payments: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    journal: list[dict[str, Any]]
    advice: list[Advice]
    case_commands: tuple[str, ...]


def load_page(connection: Connection, case: Case, now: datetime) -> CasePage:
    """Reads everything about a case."""
    all_steps = steps.of_case(connection, case.case_id)
    return CasePage(
        case=case,
        sources=cases.sources(connection, case.case_id),
        decision=cases.load_decision(connection, case.decision_id) if case.decision_id else None,
        approvals=reports.approvals_of(connection, case.case_id),
        steps=all_steps,
        times=reports.step_times(connection, case.case_id),
        payments=payments.of_order(connection, case.platform, case.order_id),
        timeline=audit.of_case(connection, case.case_id),
        journal=ledger.of_case(connection, case.case_id),
        advice=[found for step in all_steps if (found := advise(step, now)) is not None],
        case_commands=advise_case(case.case_id, case.state, has_steps=bool(all_steps)),
    )


def to_document(page: CasePage) -> dict[str, Any]:
    """The page for programs."""
    case, decision = page.case, page.decision
    return {
        "case_id": case.case_id,
        "order": {"platform": case.platform, "order_id": case.order_id, "number": case.order_number},
        "state": case.state,
        "why": case.why,
        "reason": case.wanted.reason,
        "requested_by": case.requested_by,
        "opened_at": case.opened_at,
        "closed_at": case.closed_at,
        "sources": page.sources,
        "decision": decision
        and {
            "decision_id": decision.decision_id,
            "verdict": decision.decision.verdict,
            "reason": decision.decision.reason,
            "amount": decision.decision.amount,
            "path": decision.decision.path,
            "policy_version": decision.decision.policy_version,
            "approved_by": decision.approved_by,
            "decided_at": decision.decided_at,
        },
        "approvals": page.approvals,
        "steps": [
            {
                "step_key": s.step_key,
                "wave": s.wave,
                "kind": s.kind,
                "action": s.action,
                "platform": s.platform,
                "state": s.state,
                "amount": s.amount,
                "reference": s.reference,
                "code": s.code,
                "reason": s.reason,
                "attempts": s.attempts,
                "looks": s.looks,
                "may_have_happened": s.may_have_happened,
                "since": page.times[s.step_key]["since"],
                "due_at": s.due_at,
                "needs": s.needs,
            }
            for s in page.steps
        ],
        "payments": [
            {
                "payment_id": p["payment_id"],
                "currency": p["currency"],
                **{n: p[n] for n in ("authorised", "captured", "reserved", "settled", "external")},
                "dispute": p["dispute"],
                "dispute_reference": p["dispute_reference"],
                "payer": _payer(p).payer.value,
                "payer_why": _payer(p).why,
            }
            for p in page.payments
        ],
        "timeline": [
            {n: e[n] for n in ("chain_no", "at", "actor", "event", "step_key", "detail")}
            for e in page.timeline
        ],
        "journal": page.journal,
        "next": [
            {"step_key": a.step_key, "certain": a.certain, "uncertain": a.uncertain, "commands": a.commands}
            for a in page.advice
        ],
        "case_commands": page.case_commands,
    }


def print_page(console: Console, page: CasePage) -> None:
    """The page for people. What to do next comes last, where the eye is."""
    case = page.case
    show.line(
        console, f"{case.case_id}  order {case.order_number or case.order_id}  {case.state.value}", "bold"
    )
    show.line(console, f"why: {case.why or 'nothing was noted'}", indent=2)
    show.line(console, f"order: {case.platform} {case.order_id}", indent=2)
    asked = f" by {case.requested_by}" if case.requested_by else ""
    closed = f"; closed {show.when(case.closed_at)}" if case.closed_at else ""
    show.line(
        console, f"opened {show.when(case.opened_at)}{asked}, reason {case.wanted.reason}{closed}", indent=2
    )
    _print_sources(console, page)
    _print_decision(console, page)
    _print_steps(console, page)
    _print_payments(console, page)
    _print_timeline(console, page)
    _print_journal(console, page)
    _print_next(console, page)


def _print_sources(console: Console, page: CasePage) -> None:
    show.heading(console, "Sources")
    if not page.sources:
        show.line(console, "none", indent=2)
        return
    show.table(
        console,
        [Column("event"), Column("at"), Column("source"), Column("topic"), Column("how"), Column("trust")],
        [
            [
                s["event_id"],
                s["joined_at"],
                s["source"],
                s["topic"],
                s["how"],
                "verified" if s["is_verified"] else "a hint only",
            ]
            for s in page.sources
        ],
    )


def _print_decision(console: Console, page: CasePage) -> None:
    show.heading(console, "Decision")
    if page.decision is None:
        show.line(console, "none yet", indent=2)
        return
    kept, decision = page.decision, page.decision.decision
    amount = f", {decision.amount} goes back" if decision.amount and decision.amount.minor else ""
    show.line(
        console,
        f"{decision.verdict.value}{amount} (decision {kept.decision_id}, {show.when(kept.decided_at)}, "
        f"policy {decision.policy_version})",
        indent=2,
    )
    for number, rule in enumerate(decision.path, start=1):
        show.line(console, f"{number}. {rule}", indent=4)
    for word in page.approvals:
        show.line(
            console,
            f"{word['verdict']} by {word['operator']} {show.when(word['at'])}: {word['reason']}",
            indent=2,
        )


def _print_steps(console: Console, page: CasePage) -> None:
    show.heading(console, "Steps")
    if not page.steps:
        show.line(console, "none", indent=2)
        return
    show.table(
        console,
        [
            Column("step"),
            Column("wave", is_right=True),
            Column("what"),
            Column("platform"),
            Column("state"),
            Column("amount", is_right=True),
            Column("reference"),
            Column("tries", is_right=True),
            Column("since"),
            Column("why", wraps=True),
        ],
        [
            [
                s.step_key,
                s.wave,
                what_of(s),
                s.platform,
                s.state.value,
                s.amount,
                s.reference,
                s.attempts,
                page.times[s.step_key]["since"],
                ": ".join(part for part in (s.code, s.reason) if part),
            ]
            for s in page.steps
        ],
    )


def what_of(step: Step) -> str:
    """What a step is about, in a word or two: its action, or a message's template."""
    if isinstance(step.command, SendMessage) and step.kind.value == "notify":
        return f"tell {step.command.template}"
    return "task" if step.kind.value == "human_task" else step.action


def _print_payments(console: Console, page: CasePage) -> None:
    show.heading(console, "Payments")
    if not page.payments:
        show.line(console, "none known", indent=2)
        return
    show.table(
        console,
        [
            Column("payment"),
            Column("captured", is_right=True),
            Column("reserved", is_right=True),
            Column("settled", is_right=True),
            Column("refunded elsewhere", is_right=True),
            Column("dispute"),
        ],
        [
            [
                p["payment_id"],
                *(show.money(p[n], p["currency"]) for n in ("captured", "reserved", "settled", "external")),
                f"{p['dispute']} {p['dispute_reference']}".strip(),
            ]
            for p in page.payments
        ],
    )
    for p in page.payments:
        verdict = _payer(p)
        show.line(console, f"{p['payment_id']}: payer {verdict.payer.value}, because {verdict.why}", indent=2)


def _payer(payment: dict[str, Any]) -> Verdict:
    return name_payer(
        captured=Money(payment["captured"], payment["currency"]),
        reserved=payment["reserved"],
        settled=payment["settled"],
        external=payment["external"],
        dispute=DisputeState(payment["dispute"]),
    )


def _print_timeline(console: Console, page: CasePage) -> None:
    show.heading(console, "Timeline")
    if not page.timeline:
        show.line(console, "none", indent=2)
    for entry in page.timeline:
        detail = {k: v for k, v in entry["detail"].items() if v not in (None, "", [], {})}
        told = " ".join(f"{name}={_brief(value)}" for name, value in detail.items())
        parts = [show.when(entry["at"]), entry["event"], entry["step_key"], told, f"({entry['actor']})"]
        show.line(console, "  ".join(part for part in parts if part), indent=2)


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_journal(console: Console, page: CasePage) -> None:
    show.heading(console, "Journal")
    if not page.journal:
        show.line(console, "no entry", indent=2)
        return
    show.table(
        console,
        [
            Column("entry"),
            Column("at"),
            Column("account"),
            Column("debit", is_right=True),
            Column("credit", is_right=True),
            Column("memo", wraps=True),
        ],
        [
            [
                j["id"],
                j["at"],
                j["account"],
                show.money(j["amount_minor"], j["currency"]) if j["amount_minor"] > 0 else "",
                show.money(-j["amount_minor"], j["currency"]) if j["amount_minor"] < 0 else "",
                j["memo"],
            ]
            for j in page.journal
        ],
    )


def _print_next(console: Console, page: CasePage) -> None:
    show.heading(console, "Next")
    if not page.advice and not page.case_commands:
        show.line(console, "nothing to do", indent=2)
    for command in page.case_commands:
        show.line(console, command, indent=2)
    by_key: dict[str, Step] = {s.step_key: s for s in page.steps}
    for advice in page.advice:
        print_advice(console, by_key[advice.step_key], advice)


def print_advice(console: Console, step: Step, advice: Advice) -> None:
    """What is certain, what is not, and the next command, about one step."""
    show.line(console, f"{step.step_key}  {step.state.value}", "bold", indent=2)
    show.line(console, f"certain: {advice.certain}", indent=4)
    show.line(console, f"not certain: {advice.uncertain}", indent=4)
    for command in advice.commands:
        show.line(console, f"next: {command}", indent=4)
    if not advice.commands:
        show.line(console, "next: wait", indent=4)
