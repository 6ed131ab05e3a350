"""Making rows equal to sidecars: replay, lazy refresh, incremental and full rebuild."""
