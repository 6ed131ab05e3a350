"""The gRPC server that every part of the mesh is, and what surrounds each call."""
