"""The hybrid cache: check, full and incremental rebuild, cleanup."""
