"""The elements that each element knows of, and those that an operator has taken out of the mesh."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE storage_elements ADD COLUMN peers text[] NOT NULL DEFAULT '{}'",
    # Whose row was deleted is no part of the mesh, whoever still names it. Tables that are lost
    # leave nothing here.
    """
    CREATE TABLE forgotten_elements (
        storage_element_id  text COLLATE "C" PRIMARY KEY,
        forgotten_at        timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE FUNCTION storage_elements_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            INSERT INTO forgotten_elements (storage_element_id) VALUES (OLD.storage_element_id)
            ON CONFLICT DO NOTHING;
        ELSE
            DELETE FROM forgotten_elements WHERE storage_element_id = NEW.storage_element_id;
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER storage_elements_forgotten AFTER INSERT OR DELETE ON storage_elements
    FOR EACH ROW EXECUTE FUNCTION storage_elements_forgotten()
    """,
)


def upgrade() -> None:
    """Add the column, and the table with what fills it."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TRIGGER storage_elements_forgotten ON storage_elements")
    op.execute("DROP FUNCTION storage_elements_forgotten")
    op.execute("DROP TABLE forgotten_elements")
    op.execute("ALTER TABLE storage_elements DROP COLUMN peers")
