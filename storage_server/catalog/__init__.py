"""The element's tables in PostgreSQL: a cache of its sidecars, and the change feed."""
