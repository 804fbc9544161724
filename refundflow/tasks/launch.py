"""Launching: a wave becomes a chord (several steps) or a chain (one), with `settle` at its end.

A launch that fails is no loss: everything launched has a due time in its row, and the sweep launches it again.
"""

from __future__ import annotations

from typing import Any, Final

from celery import chain, chord, group
from celery.canvas import Signature
from celery.exceptions import CeleryError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from refundflow.domain.ids import CaseId, EventId, StepKey
from refundflow.domain.steps import StepKind
from refundflow.flow.context import Launch, Wave
from refundflow.observe import logger
from refundflow.tasks.app import app

log = logger(__name__)
STEP_TASK: Final = "refundflow.{}"


def launch(wave: Wave) -> bool:
    """Publishes a wave. Effects of one wave are a chord whose body settles the case; a message to people is a chain of
    its own, so that a slow mail server never holds up money. False where the broker is away: the sweep launches later.
    """
    effects = [_step(s) for s in wave.steps if s.kind is not StepKind.NOTIFY]
    tells = [_step(s) for s in wave.steps if s.kind is StepKind.NOTIFY]
    canvases: list[Any] = [chain(step, _settle(wave.case_id)) for step in tells]
    if len(effects) > 1:
        canvases.insert(0, chord(group(effects), _settle(wave.case_id)))
    elif effects:
        canvases.insert(0, chain(effects[0], _settle(wave.case_id)))
    sent = [_publish(canvas, case_id=wave.case_id) for canvas in canvases]
    return all(sent)


def launch_settle(case_id: CaseId) -> bool:
    """Publishes a settling alone."""
    return _publish(_settle(case_id), case_id=case_id)


def launch_poll(platform: str) -> bool:
    """Publishes a look at a platform."""
    look = app.signature("refundflow.poll", args=(platform,), options={"ignore_result": True})
    return _publish(look)


def launch_look(step_key: StepKey) -> bool:
    """Publishes a second look at a step that is held for done."""
    look = app.signature("refundflow.look_again", args=(step_key,), options={"ignore_result": True})
    return _publish(look)


def launch_intake(event_id: EventId, **options: Any) -> bool:
    """Publishes an event's intake; `options` go to Celery (ingest gives its own, impatient retry policy)."""
    # Nobody joins on it, so the result store (which may be away) is not even told.
    intake = app.signature("refundflow.intake", args=(event_id,), options={"ignore_result": True})
    return _publish(intake, event_id=event_id, **options)


def _step(step: Launch) -> Signature[Any]:
    return app.signature(STEP_TASK.format(step.kind.value), args=(step.step_key,), immutable=True)


def _settle(case_id: CaseId) -> Signature[Any]:
    return app.signature(
        "refundflow.settle", args=(case_id,), immutable=True, options={"ignore_result": True}
    )


def _publish(canvas: Any, *, case_id: str = "", event_id: int | None = None, **options: Any) -> bool:
    try:
        canvas.apply_async(**options)
    except (OperationalError, CeleryError, RedisError, OSError, RuntimeError) as error:
        # Broker or result store away, each in its own library's words (Celery's result store gives up with RuntimeError).
        log.warning("launch.failed", case_id=case_id, event_id=event_id, error=str(error))
        return False
    return True
