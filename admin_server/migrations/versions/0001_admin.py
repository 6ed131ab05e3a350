"""Signing keys, service accounts, storage elements."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute(
        """
        CREATE TABLE signing_keys (
            kid text PRIMARY KEY,
            public_key text NOT NULL,
            private_key text,
            signs_from timestamptz,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        """
        CREATE TABLE service_accounts (
            client_id text COLLATE "C" PRIMARY KEY,
            role text NOT NULL,
            namespaces text[] NOT NULL,
            read_namespaces text[] NOT NULL,
            description text NOT NULL DEFAULT '',
            suspended boolean NOT NULL DEFAULT false,
            secret_hash text NOT NULL,
            previous_secret_hash text,
            previous_valid_until timestamptz,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            rotated_at timestamptz NOT NULL
        )
        """
    )
    op.execute(
        """
        CREATE TABLE storage_elements (
            storage_element_id text COLLATE "C" PRIMARY KEY,
            store_id text NOT NULL,
            endpoint text NOT NULL,
            mode text NOT NULL,
            priority integer NOT NULL,
            decided_priority integer,
            capacity_bytes bigint NOT NULL,
            used_bytes bigint NOT NULL,
            reserved_bytes bigint NOT NULL,
            file_count bigint NOT NULL,
            fill_level text NOT NULL,
            writable boolean NOT NULL,
            is_writer boolean NOT NULL,
            backend text NOT NULL,
            epoch text NOT NULL,
            sequence bigint NOT NULL,
            reported_at timestamptz NOT NULL,
            registered_at timestamptz NOT NULL
        )
        """
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("storage_elements", "service_accounts", "signing_keys"):
        op.execute(f"DROP TABLE {table}")
