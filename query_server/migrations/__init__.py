"""Alembic revisions of the database `artstore_query`."""
