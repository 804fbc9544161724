"""Steps: planned, claimed, recorded. Every update is conditional on what was read, so two workers cannot both act."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from refundflow.domain.commands import AnyCommand
from refundflow.domain.ids import CaseId, PaymentId, StepKey
from refundflow.domain.money import Money
from refundflow.domain.states import STEP_MOVES, StepState
from refundflow.domain.steps import Move, Step, StepKind
from refundflow.store.codec import dump, from_json, to_json
from refundflow.store.db import execute, row, rows

_COLUMNS = (
    "step_key, case_id, number, kind, action, platform, command, state, needs, follows, uses, wave, amount_minor, currency,"
    " payment_id, reference, code, reason, attempts, crashes, looks, key_number, may_have_happened, not_before, due_at,"
    " lease_until, sent_at, version"
)


def insert(connection: Connection, steps: Iterable[Step], *, first_number: int, now: datetime) -> None:
    """Writes planned steps down. Their keys are unique: planning the same intention twice is refused by the database."""
    for offset, step in enumerate(steps):
        execute(
            connection,
            "INSERT INTO steps (step_key, case_id, number, kind, action, platform, command, state, needs, follows, uses,"
            " wave, amount_minor, currency, payment_id, is_reserved, planned_at)"
            " VALUES (:step_key, :case_id, :number, :kind, :action, :platform, CAST(:command AS jsonb), 'planned', :needs,"
            " :follows, CAST(:uses AS jsonb), :wave, :minor, :currency, :payment_id, :is_reserved, :now)",
            step_key=step.step_key,
            case_id=step.case_id,
            number=first_number + offset,
            kind=step.kind.value,
            action=step.action,
            platform=step.platform,
            command=to_json(step.command),
            needs=list(step.needs),
            follows=list(step.follows),
            uses=dump([list(use) for use in step.uses]),
            wave=step.wave,
            minor=step.amount.minor if step.amount else None,
            currency=step.amount.currency if step.amount else None,
            payment_id=step.payment_id,
            is_reserved=step.action == "refund",
            now=now,
        )


def load(connection: Connection, step_key: str, *, lock: bool = False) -> Step | None:
    sql = f"SELECT {_COLUMNS} FROM steps WHERE step_key = :key"
    found = row(connection, sql + " FOR UPDATE" if lock else sql, key=step_key)
    return _step(found) if found else None


def lock(connection: Connection, step_key: str) -> None:
    """Holds the step's row until the end of the transaction."""
    execute(connection, "SELECT 1 FROM steps WHERE step_key = :key FOR UPDATE", key=step_key)


def of_case(connection: Connection, case_id: str, *, lock: bool = False) -> list[Step]:
    """The case's steps in the order of the plan."""
    sql = f"SELECT {_COLUMNS} FROM steps WHERE case_id = :case_id ORDER BY number"
    return [_step(r) for r in rows(connection, sql + " FOR UPDATE" if lock else sql, case_id=case_id)]


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on a step. `token`: unique per run, so that a claim whose commit got lost is known again."""

    token: str
    task_id: str
    worker: str


def claim(
    connection: Connection, step: Step, move: Move, by: Claim, *, now: datetime, lease_s: float
) -> Step | None:
    """Takes the step if it still stands as it was read; None when somebody else was faster.

    An expired claim counts as a crash of its worker. A refund is claimed only while its payment is free of disputes and
    no other refund of the payment is on the wire. The claim and its attempt row are one statement.
    """
    is_takeover = step.state is StepState.IN_FLIGHT
    is_send = move is Move.SEND
    is_refund = step.action == "refund"
    try:
        with connection.begin_nested() if is_refund else nullcontext():
            taken = row(
                connection,
                "WITH taken AS (UPDATE steps SET state = 'in_flight', lease_until = :lease, due_at = :lease, claimed_by = :token,"
                " attempts = attempts + :sent, crashes = crashes + :crashed,"
                " may_have_happened = may_have_happened OR :sent = 1 OR :crashed = 1,"
                " sent_at = CASE WHEN :sent = 1 THEN :now ELSE sent_at END, version = version + 1"
                " WHERE step_key = :key AND state = :was AND version = :version AND NOT (:is_paying"
                " AND EXISTS (SELECT 1 FROM payments p WHERE p.payment_id = steps.payment_id AND p.dispute IN ('open', 'lost')))"
                " RETURNING *),"
                " told AS (INSERT INTO attempts (step_key, case_id, token, phase, move, task_id, worker, at)"
                " SELECT step_key, case_id, :token, 'claimed', :move, :task_id, :worker, :now FROM taken)"
                f" SELECT {_COLUMNS} FROM taken",
                key=step.step_key,
                was=step.state.value,
                version=step.version,
                lease=now + timedelta(seconds=lease_s),
                token=by.token,
                task_id=by.task_id,
                worker=by.worker,
                move=move.value,
                sent=int(is_send),
                crashed=int(is_takeover),
                is_paying=is_send and is_refund,
                now=now,
            )
    except IntegrityError as error:
        if "one_refund_in_flight_per_payment" in str(error.orig):
            return None
        raise
    return _step(taken) if taken else None


def is_held_by(connection: Connection, step_key: str, token: str) -> bool:
    """Whether this very run holds the step (a claim's commit may have come through though its answer did not)."""
    return (
        row(
            connection,
            "SELECT 1 AS yes FROM steps WHERE step_key = :key AND state = 'in_flight' AND claimed_by = :token",
            key=step_key,
            token=token,
        )
        is not None
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run came to, as it is written down."""

    state: StepState
    outcome: str
    code: str = ""
    reason: str = ""
    reference: str = ""
    detail: str = ""
    may_have_happened: bool = False
    not_before: datetime | None = None
    due_at: datetime | None = None
    looks: int = 0
    key_number: int = 1
    look_again_at: datetime | None = None


def record(
    connection: Connection,
    step: Step,
    ending: Ending,
    move: Move,
    by: Claim,
    *,
    now: datetime,
    exchanges: Sequence[Any],
) -> bool:
    """Writes a run's end: the step's new state and the attempt, in one statement.

    False when this run does not hold the step any more (its lease ran out and another took over, or it was recorded
    before and only the answer got lost): then nothing is written.
    """
    if ending.state not in STEP_MOVES[StepState.IN_FLIGHT]:
        raise ValueError(f"{step.step_key}: no move from in_flight to {ending.state}")
    return (
        row(
            connection,
            "WITH ended AS (UPDATE steps SET state = :state, lease_until = NULL, code = :code, reason = :reason,"
            " reference = CASE WHEN :reference = '' THEN reference ELSE :reference END, detail = :detail,"
            " may_have_happened = :may, not_before = :not_before, due_at = :due_at, looks = :looks, key_number = :key_number,"
            " look_again_at = :look_again_at, ended_at = CASE WHEN :is_end THEN :now ELSE NULL END, version = version + 1"
            " WHERE step_key = :key AND state = 'in_flight' AND claimed_by = :token RETURNING step_key, case_id),"
            " told AS (INSERT INTO attempts (step_key, case_id, token, phase, move, task_id, worker, at, outcome, code, reason,"
            " reference, exchanges) SELECT step_key, case_id, :token, 'ended', :move, :task_id, :worker, :now, :outcome, :code,"
            " :reason, :reference, CAST(:exchanges AS jsonb) FROM ended)"
            " SELECT step_key FROM ended",
            key=step.step_key,
            token=by.token,
            state=ending.state.value,
            code=ending.code,
            reason=ending.reason,
            reference=ending.reference,
            detail=ending.detail,
            may=ending.may_have_happened,
            not_before=ending.not_before,
            due_at=ending.due_at,
            looks=ending.looks,
            key_number=ending.key_number,
            look_again_at=ending.look_again_at,
            is_end=ending.due_at is None,
            now=now,
            move=move.value,
            task_id=by.task_id,
            worker=by.worker,
            outcome=ending.outcome,
            exchanges=dump(list(exchanges)),
        )
        is not None
    )


def release(connection: Connection, step_keys: Sequence[str], *, due_at: datetime) -> int:
    """Lets planned steps run: from now on the sweep looks after them."""
    if not step_keys:
        return 0
    return execute(
        connection,
        "UPDATE steps SET due_at = :due_at, version = version + 1 WHERE step_key = ANY(:keys) AND state = 'planned'"
        " AND due_at IS NULL",
        keys=list(step_keys),
        due_at=due_at,
    )


def move(
    connection: Connection,
    step: Step,
    state: StepState,
    *,
    code: str,
    reason: str,
    now: datetime,
    due_at: datetime | None = None,
    reference: str = "",
    key_number: int | None = None,
    may_have_happened: bool | None = None,
) -> bool:
    """Moves a step outside a run: a skip, an operator's word, a vendor's late word. False when it moved meanwhile.

    Raises ValueError for a move that does not exist.
    """
    if state not in STEP_MOVES[step.state]:
        raise ValueError(f"{step.step_key}: no move from {step.state} to {state}")
    return (
        execute(
            connection,
            "UPDATE steps SET state = :state, code = :code, reason = :reason, lease_until = NULL, due_at = :due_at,"
            " not_before = NULL, reference = CASE WHEN :reference = '' THEN reference ELSE :reference END,"
            " key_number = COALESCE(:key_number, key_number), looks = 0, crashes = 0, look_again_at = NULL,"
            " attempts = CASE WHEN CAST(:due_at AS timestamptz) IS NULL THEN attempts ELSE 0 END,"
            " may_have_happened = COALESCE(:may, may_have_happened),"
            " ended_at = CASE WHEN CAST(:due_at AS timestamptz) IS NULL THEN :now ELSE NULL END, version = version + 1"
            " WHERE step_key = :key AND state = :was AND version = :version",
            key=step.step_key,
            was=step.state.value,
            version=step.version,
            state=state.value,
            code=code,
            reason=reason,
            due_at=due_at,
            reference=reference,
            key_number=key_number,
            may=may_have_happened,
            now=now,
        )
        == 1
    )


def hurry(connection: Connection, step: Step, *, now: datetime, due_at: datetime) -> bool:
    """Makes a waiting step due now. False when it does not wait, or moved meanwhile."""
    return (
        execute(
            connection,
            "UPDATE steps SET not_before = :now, due_at = :due_at, version = version + 1 WHERE step_key = :key"
            " AND version = :version AND state IN ('pending', 'unknown', 'retry_scheduled')",
            key=step.step_key,
            version=step.version,
            now=now,
            due_at=due_at,
        )
        == 1
    )


def of_payment(connection: Connection, payment_id: str) -> list[Step]:
    """Every step that is about a payment, whatever its case."""
    sql = f"SELECT {_COLUMNS} FROM steps WHERE payment_id = :id ORDER BY step_key"
    return [_step(r) for r in rows(connection, sql, id=payment_id)]


def set_reserved(connection: Connection, step_key: str, *, is_reserved: bool) -> bool:
    """Notes that the step's amount is (no longer) set aside on its payment. False when it was so before."""
    return (
        execute(
            connection,
            "UPDATE steps SET is_reserved = :flag WHERE step_key = :key AND is_reserved <> :flag",
            key=step_key,
            flag=is_reserved,
        )
        == 1
    )


@dataclass(frozen=True, slots=True)
class Due:
    step_key: StepKey
    case_id: CaseId
    kind: StepKind
    state: StepState


def take_due(connection: Connection, *, now: datetime, again: datetime, limit: int) -> list[Due]:
    """Steps whose time has come; they are due again at `again`, in case their message is lost.

    The cost follows what is due, not what was ever done (a partial index), and two sweeps never take the same step.
    Platforms that refuse our credentials are left alone until their pause is over.
    """
    return [
        Due(StepKey(r["step_key"]), CaseId(r["case_id"]), StepKind(r["kind"]), StepState(r["state"]))
        for r in rows(
            connection,
            "UPDATE steps SET due_at = :again WHERE step_key IN (SELECT s.step_key FROM steps s WHERE s.due_at <= :now"
            " AND NOT EXISTS (SELECT 1 FROM connector_health h WHERE h.platform = s.platform AND h.paused_until > :now)"
            " ORDER BY s.due_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING step_key, case_id, kind, state",
            now=now,
            again=again,
            limit=limit,
        )
    ]


@dataclass(frozen=True, slots=True)
class LookOwed:
    """A step that is held for done since `ended_at`, and is to be asked about at `at`."""

    at: datetime
    ended_at: datetime


def look_owed(connection: Connection, step_key: str) -> LookOwed | None:
    """Whether a step that succeeded is still to be asked about."""
    found = row(
        connection,
        "SELECT look_again_at, ended_at FROM steps WHERE step_key = :key AND state = 'succeeded' AND look_again_at IS NOT NULL"
        " AND ended_at IS NOT NULL",
        key=step_key,
    )
    return LookOwed(found["look_again_at"], found["ended_at"]) if found else None


def take_looks(connection: Connection, *, now: datetime, again: datetime, limit: int) -> list[StepKey]:
    """Steps held for done whose next look is due; due again at `again`, in case their message is lost."""
    return [
        StepKey(r["step_key"])
        for r in rows(
            connection,
            "UPDATE steps SET look_again_at = :again WHERE step_key IN (SELECT step_key FROM steps WHERE look_again_at <= :now"
            " ORDER BY look_again_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING step_key",
            now=now,
            again=again,
            limit=limit,
        )
    ]


def set_look_again(connection: Connection, step_key: str, at: datetime | None) -> bool:
    """When the step is asked about next (None: never again). False when no look was owed any more."""
    return (
        execute(
            connection,
            "UPDATE steps SET look_again_at = :at WHERE step_key = :key AND look_again_at IS NOT NULL",
            key=step_key,
            at=at,
        )
        == 1
    )


def attempts_of(connection: Connection, step_key: str) -> list[dict[str, Any]]:
    """Every try and look of a step, oldest first, with masked requests and answers."""
    return rows(
        connection,
        "SELECT token, phase, move, task_id, worker, at, outcome, code, reason, reference, exchanges FROM attempts"
        " WHERE step_key = :key ORDER BY id",
        key=step_key,
    )


def runs_of_task(connection: Connection, task_id: str) -> list[dict[str, Any]]:
    """Everything that one Celery task id did, oldest first."""
    return rows(
        connection,
        "SELECT a.step_key, a.case_id, a.phase, a.move, a.task_id, a.worker, a.at, a.outcome, a.code, a.reason, a.reference,"
        " s.kind, s.platform, s.state FROM attempts a JOIN steps s ON s.step_key = a.step_key"
        " WHERE a.task_id = :task_id ORDER BY a.id",
        task_id=task_id,
    )


def _step(r: dict[str, Any]) -> Step:
    return Step(
        step_key=StepKey(r["step_key"]),
        case_id=CaseId(r["case_id"]),
        number=r["number"],
        kind=StepKind(r["kind"]),
        action=r["action"],
        platform=r["platform"],
        command=from_json(r["command"], AnyCommand),
        state=StepState(r["state"]),
        needs=tuple(StepKey(k) for k in r["needs"]),
        follows=tuple(StepKey(k) for k in r["follows"]),
        uses=tuple((name, StepKey(key)) for name, key in r["uses"]),
        wave=r["wave"],
        amount=Money(r["amount_minor"], r["currency"]) if r["amount_minor"] is not None else None,
        payment_id=PaymentId(r["payment_id"]) if r["payment_id"] else None,
        reference=r["reference"],
        code=r["code"],
        reason=r["reason"],
        attempts=r["attempts"],
        crashes=r["crashes"],
        looks=r["looks"],
        key_number=r["key_number"],
        may_have_happened=r["may_have_happened"],
        not_before=r["not_before"],
        due_at=r["due_at"],
        lease_until=r["lease_until"],
        sent_at=r["sent_at"],
        version=r["version"],
    )
