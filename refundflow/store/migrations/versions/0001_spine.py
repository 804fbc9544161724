"""The spine: inbox, cases, facts, decisions, steps, attempts, payments, journal, audit, messages, dead messages."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # Through the driver's own cursor: the script holds many statements, and percent signs that are no parameters.
    cursor = op.get_bind().connection.cursor()
    cursor.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    cursor.close()
