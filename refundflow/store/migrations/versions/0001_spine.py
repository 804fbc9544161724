"""The spine: inbox, cases, facts, decisions, steps, attempts, payments, journal, audit, messages, dead messages."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
