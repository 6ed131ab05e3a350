"""Calls to the mesh: where, as whom, how long, how often."""
