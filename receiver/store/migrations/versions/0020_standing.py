"""Let a rule take up what is wrong with servers when it is made; those that there are do not."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("alert_rules", sa.Column("standing_after", KEY))
