"""Benchmarks: ArtStore against a bare gRPC stream, BuildGrid and a bare listing, in one run."""
