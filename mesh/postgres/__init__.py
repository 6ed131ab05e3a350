"""PostgreSQL: a pool that fails fast, and revisions run as a server starts."""
