"""One index for the words and what is mostly filtered by.

To join an index of words with one of a filter, PostgreSQL makes a bitmap of all rows that pass
the filter: of a million rows that took most of a search's time. In one GIN index the rarer side
leads, and of the other only the places are looked at that it names.
"""

from alembic import op

from query_server.search.table import KEY_CHARACTERS, TABLE

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

REPLACED = ("(search_vector)", "(tag_keys)", "(attributes jsonb_path_ops)")


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")
    for columns in REPLACED:
        op.execute(
            f"""
            DO $$ DECLARE name text; BEGIN
                SELECT indexrelid::regclass INTO STRICT name FROM pg_index
                WHERE indrelid = '{TABLE}'::regclass
                  AND strpos(pg_get_indexdef(indexrelid), 'USING gin {columns}') > 0;
                EXECUTE 'DROP INDEX ' || name;
            END $$
            """
        )
    keys = ", ".join(
        f"left({column}, {KEY_CHARACTERS})"
        for column in ("content_type", "created_by", "namespace")
    )
    op.execute(
        f"""
        CREATE INDEX ON {TABLE} USING gin (
            search_vector, tag_keys, attributes jsonb_path_ops, {keys},
            content_family, extension, storage_element_id
        ) WITH (fastupdate = off)
        """
    )


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
