"""The gRPC face of the query server."""
