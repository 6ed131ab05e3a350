"""The gRPC face of ingest."""
