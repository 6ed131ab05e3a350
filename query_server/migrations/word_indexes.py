"""The indexes of what the functions of `words` make, and what they take the place of."""

from __future__ import annotations

from query_server.search.table import KEY_CHARACTERS, TABLE

_KEYS = ", ".join(
    f"left({column}, {KEY_CHARACTERS})" for column in ("media_type", "created_by", "namespace")
)
# The indexes of what the functions make; a search goes by it once they are there.
INDEXES = {
    f"{TABLE}_words": f"""USING gin (
        words, tag_keys, attributes jsonb_path_ops, {_KEYS},
        content_family, extension, storage_element_id) WITH (fastupdate = on)""",
    f"{TABLE}_name_key": "(name_key DESC, file_id DESC) WHERE state = 'active'",
}
# What was there before, once nobody asks for it: an index goes with its column.
DROP_OLD = (
    f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS search_vector",
    "DROP FUNCTION IF EXISTS artstore_search_vector, artstore_text",
    f"DROP INDEX IF EXISTS {TABLE}_uncut",
    f"""
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexrelid::regclass FROM pg_index
            WHERE indrelid = '{TABLE}'::regclass
              AND strpos(pg_get_indexdef(indexrelid), 'left(lower(original_filename)') > 0
        LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
    END $$
    """,
)
