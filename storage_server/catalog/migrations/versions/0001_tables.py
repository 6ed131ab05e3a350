"""The first tables of an element."""

from __future__ import annotations

from alembic import op

from mesh.postgres.migrations import attribute

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A full rebuild renews every row. Half of each page is kept free, so that this stays in the page
# and touches no index (a fifth of the time, a tenth of the WAL); without it the table grows to
# that size all the same, by the first rebuild.
#
# Columns beyond the sidecar's have defaults, so that a row an operator writes by hand is a
# row that a check reports, not an error.
_FILES = """
CREATE TABLE public.{p}files (
    file_id            text        PRIMARY KEY,
    schema_version     integer     NOT NULL DEFAULT 1,
    revision           bigint      NOT NULL DEFAULT 1,
    state              text        NOT NULL DEFAULT 'active'
                                   CHECK (state IN ('active', 'deleted', 'moved')),
    namespace          text        NOT NULL DEFAULT 'default',
    original_filename  text        NOT NULL,
    storage_filename   text        NOT NULL,
    storage_path       text        NOT NULL,
    size_bytes         bigint      NOT NULL,
    content_type       text        NOT NULL DEFAULT 'application/octet-stream',
    sha256             text        NOT NULL DEFAULT '',
    crc32c             bigint,
    created_at         timestamptz NOT NULL DEFAULT now(),
    created_by         text        NOT NULL DEFAULT '',
    updated_at         timestamptz NOT NULL DEFAULT now(),
    request_id         text        NOT NULL DEFAULT '',
    description        text        NOT NULL DEFAULT '',
    version            text        NOT NULL DEFAULT '',
    tags               text[]      NOT NULL DEFAULT '{{}}',
    attributes         jsonb       NOT NULL DEFAULT '{{}}'
                                   CHECK (jsonb_typeof(attributes) = 'object'),
    retention_policy   text        NOT NULL DEFAULT 'temporary'
                                   CHECK (retention_policy IN ('temporary', 'permanent')),
    retention_days     integer,
    expires_at         timestamptz,
    finalized_at       timestamptz,
    finalized_to       text        NOT NULL DEFAULT '',
    legal_hold         boolean     NOT NULL DEFAULT false,
    unknown_fields     text        NOT NULL DEFAULT '',
    cache_updated_at   timestamptz NOT NULL DEFAULT now(),
    cache_ttl_hours    integer     NOT NULL DEFAULT 24,
    sidecar_mtime_ns   bigint      NOT NULL DEFAULT 0,
    sidecar_size       bigint      NOT NULL DEFAULT -1,
    sidecar_inode      bigint      NOT NULL DEFAULT 0,
    sidecar_etag       text        NOT NULL DEFAULT '',
    blob_present       boolean     NOT NULL DEFAULT true,
    digest             bytea       NOT NULL DEFAULT '',
    row_hash           bigint,
    sequence           bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 50)
"""

_STATEMENTS = (
    _FILES,
    "CREATE INDEX {p}files_by_path ON public.{p}files (storage_path, storage_filename)",
    "CREATE INDEX {p}files_listed ON public.{p}files (created_at, file_id) WHERE state = 'active'",
    "CREATE INDEX {p}files_requested ON public.{p}files (created_by, request_id)"
    " WHERE request_id <> ''",
    "CREATE INDEX {p}files_tombstones ON public.{p}files (updated_at) WHERE state = 'deleted'",
    """
    CREATE TABLE public.{p}feed_head (
        id          smallint    PRIMARY KEY DEFAULT 1 CHECK (id = 1),
        epoch       text        NOT NULL DEFAULT gen_random_uuid()::text,
        seq         bigint      NOT NULL DEFAULT 0,
        used_bytes  bigint      NOT NULL DEFAULT 0,
        file_count  bigint      NOT NULL DEFAULT 0,
        complete    boolean     NOT NULL DEFAULT false,
        created_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "INSERT INTO public.{p}feed_head DEFAULT VALUES",
    """
    CREATE TABLE public.{p}feed (
        sequence    bigint      PRIMARY KEY,
        change_id   uuid        NOT NULL DEFAULT gen_random_uuid(),
        kind        text        NOT NULL,
        file_id     text        NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE public.{p}pending_writes (
        pending_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        file_id     text        NOT NULL,
        path        text        NOT NULL,
        kind        text        NOT NULL,
        request_id  text        NOT NULL DEFAULT '',
        created_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX {p}pending_writes_by_file ON public.{p}pending_writes (file_id)",
    """
    CREATE TABLE public.{p}uploads (
        upload_id             text        PRIMARY KEY,
        file_id               text        NOT NULL,
        path                  text        NOT NULL,
        state                 text        NOT NULL DEFAULT 'open'
                                          CHECK (state IN ('open', 'committed')),
        created_by            text        NOT NULL,
        request_id            text        NOT NULL DEFAULT '',
        header                bytea       NOT NULL,
        token_hash            bytea       NOT NULL,
        reserved_bytes        bigint      NOT NULL DEFAULT 0,
        stage_key             text        NOT NULL DEFAULT '',
        committed_size_bytes  bigint      NOT NULL DEFAULT 0,
        parts                 jsonb       NOT NULL DEFAULT '[]',
        created_at            timestamptz NOT NULL DEFAULT now(),
        touched_at            timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX {p}uploads_requested ON public.{p}uploads (created_by, request_id)"
    " WHERE request_id <> ''",
    """
    CREATE TABLE public.{p}fences (
        id             smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
        rebuild_fence  bigint   NOT NULL DEFAULT 0,
        cleanup_fence  bigint   NOT NULL DEFAULT 0
    )
    """,
    "INSERT INTO public.{p}fences DEFAULT VALUES",
    "CREATE SEQUENCE public.{p}fence_seq",
)


def upgrade() -> None:
    """Make them."""
    prefix = attribute("prefix")
    for statement in _STATEMENTS:
        op.execute(statement.format(p=prefix))
