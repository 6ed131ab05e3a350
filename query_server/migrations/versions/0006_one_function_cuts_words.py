"""Names, texts and queries are cut into words by one function.

Of a small index all is done here. Of a large one the rows are cut in the background
(`query_server.following.recut`), and searches go by what was there before until that is done.
"""

from alembic import op

from query_server.migrations import word_indexes, words
from query_server.search.table import TABLE

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    connection = op.get_bind()
    words.make_functions(connection)
    op.execute(
        f"""
        ALTER TABLE {TABLE} ADD COLUMN words tsvector, ADD COLUMN name_key text COLLATE "C",
        ALTER COLUMN words SET STATISTICS 1000
        """
    )
    op.execute(
        f"""
        CREATE TRIGGER artstore_row_words BEFORE INSERT OR UPDATE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION artstore_row_words()
        """
    )
    some = f"SELECT FROM {TABLE} LIMIT {words.AT_ONCE + 1}"
    if (
        connection.exec_driver_sql(f"SELECT count(*) FROM ({some}) looked_at").scalar_one()
        > words.AT_ONCE
    ):
        op.execute(f"CREATE INDEX {TABLE}_uncut ON {TABLE} (created_at DESC) WHERE words IS NULL")
        return
    for statement in word_indexes.DROP_OLD:
        connection.exec_driver_sql(statement)
    op.execute(f"UPDATE {TABLE} SET words = NULL")
    for name, definition in word_indexes.INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {TABLE} {definition}")
    op.execute(f"ANALYZE {TABLE}")


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
