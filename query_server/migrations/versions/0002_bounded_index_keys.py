"""No text is too long for an index, every filter has one, and words compare whatever their form."""

from alembic import op

from query_server.search.table import KEY_CHARACTERS, TABLE

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Lower case by the database's rules, since dictionaries ask the C library, which may know ASCII
# only; and composed, since macOS writes `й` in file names as two characters.
WORDS = """
CREATE OR REPLACE FUNCTION artstore_words(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
$$ SELECT regexp_replace(
       lower(CASE WHEN $1 IS NFC NORMALIZED THEN $1 ELSE normalize($1) END),
       '[^[:alnum:]]+', ' ', 'g') $$
"""

# OFFSET 0: the words are made once, not once for each configuration.
TEXT = """
CREATE OR REPLACE FUNCTION artstore_text(text, "char") RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
$$ SELECT setweight(to_tsvector('simple', words), $2)
       || setweight(to_tsvector('russian', words), $2)
   FROM (SELECT artstore_words($1) AS words OFFSET 0) made $$
"""

TAG_KEYS = f"""
CREATE OR REPLACE FUNCTION artstore_tag_keys(text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
$$ SELECT coalesce(array_agg(left(tag, {KEY_CHARACTERS})), '{{}}') FROM unnest($1) tag $$
"""

INDEXES = (
    "USING gin (search_vector) WITH (fastupdate = off)",
    "USING gin (lower(original_filename) gin_trgm_ops) WITH (fastupdate = off)",
    "(created_at DESC, file_id DESC)",
    "(updated_at DESC, file_id DESC)",
    "(size_bytes DESC, file_id DESC)",
    f"(left(lower(original_filename), {KEY_CHARACTERS}) DESC, file_id DESC)",
    "(expires_at)",
    "(storage_element_id, created_at DESC)",
    f"(left(namespace, {KEY_CHARACTERS}), created_at DESC)",
    f"(left(created_by, {KEY_CHARACTERS}), created_at DESC)",
    "(extension, created_at DESC)",
    "(retention_policy, created_at DESC)",
    f"(left(content_type, {KEY_CHARACTERS}), created_at DESC)",
    "(content_family, created_at DESC)",
    "USING gin (tag_keys) WITH (fastupdate = off)",
    "USING gin (attributes jsonb_path_ops) WITH (fastupdate = off)",
)


def upgrade() -> None:
    # What is empty is changed at once, and the followers read it anew from the elements;
    # until then a search says that the index is incomplete.
    op.execute(f"TRUNCATE {TABLE}, sync_cursors, sync_seen")
    op.execute(
        f"""
        DO $$ DECLARE name text; BEGIN
            FOR name IN SELECT indexrelid::regclass FROM pg_index
                        WHERE indrelid = '{TABLE}'::regclass AND indpred IS NOT NULL
            LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
        END $$
        """
    )
    for function in (WORDS, TEXT, TAG_KEYS):
        op.execute(function)
    op.execute(
        f"""
        ALTER TABLE {TABLE}
        ADD COLUMN tag_keys text[] GENERATED ALWAYS AS (artstore_tag_keys(tags)) STORED,
        ADD COLUMN content_family text GENERATED ALWAYS AS (
            left(split_part(content_type, '/', 1), {KEY_CHARACTERS})) STORED
        """
    )
    for index in INDEXES:
        op.execute(f"CREATE INDEX ON {TABLE} {index} WHERE state = 'active'")
    op.execute(f"ALTER TABLE {TABLE} ALTER COLUMN tag_keys SET STATISTICS 1000")
    # The planner takes no statistics of an expression from an index of some rows only.
    for column in ("namespace", "created_by", "content_type"):
        op.execute(
            f"CREATE STATISTICS {TABLE}_{column}_key ON (left({column}, {KEY_CHARACTERS}))"
            f" FROM {TABLE}"
        )


def downgrade() -> None:
    raise NotImplementedError("drop the database: it is made anew from the elements")
