"""The search index: a replica table with full text, and the cursors of its follower."""

from alembic import op

from mesh.follower.schema import create_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLE = "file_metadata_cache"

# Punctuation joins words in file names; the parser would keep `report_2024.pdf` as one token.
WORDS = """
CREATE FUNCTION artstore_words(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
$$ SELECT regexp_replace($1, '[^[:alnum:]]+', ' ', 'g') $$
"""

# Each text goes in as it is (for prefixes) and by its stem: the Russian configuration stems
# Cyrillic words in Russian and Latin ones in English.
TEXT = """
CREATE FUNCTION artstore_text(text, "char") RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS
$$ SELECT setweight(to_tsvector('simple', artstore_words($1)), $2)
       || setweight(to_tsvector('russian', artstore_words($1)), $2) $$
"""

VECTOR = """
CREATE FUNCTION artstore_search_vector(
    name text, description text, version text, tags text[], attributes jsonb
) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT artstore_text(name, 'A')
       || artstore_text(array_to_string(tags, ' '), 'B')
       || artstore_text(description, 'C')
       || artstore_text(version, 'D')
       || artstore_text(coalesce((
              SELECT string_agg(key || ' ' || value, ' ') FROM jsonb_each_text(attributes)
          ), ''), 'D') $$
"""

INDEXES = (
    "USING gin (search_vector) WITH (fastupdate = off)",
    "USING gin (lower(original_filename) gin_trgm_ops) WITH (fastupdate = off)",
    "(created_at DESC, file_id DESC)",
    "(updated_at DESC, file_id DESC)",
    "(size_bytes DESC, file_id DESC)",
    "(lower(original_filename) DESC, file_id DESC)",
    "(created_by, created_at DESC)",
    "(content_type, created_at DESC)",
    "(namespace, created_at DESC)",
    "(extension, created_at DESC)",
    "USING gin (tags) WITH (fastupdate = off)",
)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for function in (WORDS, TEXT, VECTOR):
        op.execute(function)
    for statement in create_statements(TABLE, "sync"):
        op.execute(statement)
    op.execute(
        f"""
        ALTER TABLE {TABLE}
        ADD COLUMN search_vector tsvector GENERATED ALWAYS AS (
            artstore_search_vector(original_filename, description, version, tags, attributes)
        ) STORED,
        ADD COLUMN extension text GENERATED ALWAYS AS (
            lower(coalesce(substring(original_filename from '\\.([^.]{{1,20}})$'), ''))
        ) STORED
        """
    )
    for index in INDEXES:
        op.execute(f"CREATE INDEX ON {TABLE} {index} WHERE state = 'active'")
    op.execute(f"ALTER TABLE {TABLE} ALTER COLUMN search_vector SET STATISTICS 1000")


def downgrade() -> None:
    op.execute(f"DROP TABLE {TABLE}, sync_cursors, sync_seen")
    op.execute("DROP FUNCTION artstore_search_vector, artstore_text, artstore_words")
