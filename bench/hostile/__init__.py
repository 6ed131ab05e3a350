"""Hostile callers, a sink for what they send, and what a mesh and its other callers feel."""
