"""Finding one file's sidecar and blob, and reading the sidecar."""
