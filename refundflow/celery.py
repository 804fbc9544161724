"""The Celery application, where `celery -A refundflow …` looks for it."""

from refundflow.tasks.app import app

__all__ = ["app"]
