"""Content types compare without their case and parameters."""

from alembic import op

from query_server.search.table import KEY_CHARACTERS, TABLE

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# As `mesh.content_type.folded`.
MEDIA_TYPE = "lower(btrim(split_part(content_type, ';', 1), E' \\t'))"


def upgrade() -> None:
    op.execute(f"DROP STATISTICS {TABLE}_content_type_key")
    op.execute(
        f"""
        DO $$ DECLARE name text; definition text; BEGIN
            FOR name, definition IN
                SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
                WHERE indrelid = '{TABLE}'::regclass
            LOOP
                CONTINUE WHEN definition !~ 'content_type|content_family';
                EXECUTE 'DROP INDEX ' || name;
            END LOOP;
        END $$
        """
    )
    # One pass over the table for both columns.
    op.execute(
        f"""
        ALTER TABLE {TABLE}
        DROP COLUMN content_family,
        ADD COLUMN media_type text GENERATED ALWAYS AS ({MEDIA_TYPE}) STORED,
        ADD COLUMN content_family text GENERATED ALWAYS AS (
            left(split_part({MEDIA_TYPE}, '/', 1), {KEY_CHARACTERS})) STORED
        """
    )
    media_type, created_by, namespace = (
        f"left({column}, {KEY_CHARACTERS})" for column in ("media_type", "created_by", "namespace")
    )
    for column in (media_type, "content_family"):
        op.execute(f"CREATE INDEX ON {TABLE} ({column}, created_at DESC)")
    op.execute(
        f"""
        CREATE INDEX ON {TABLE} USING gin (
            search_vector, tag_keys, attributes jsonb_path_ops, {media_type}, {created_by},
            {namespace}, content_family, extension, storage_element_id
        ) WITH (fastupdate = off)
        """
    )
    op.execute(f"CREATE STATISTICS {TABLE}_media_type_key ON ({media_type}) FROM {TABLE}")


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
