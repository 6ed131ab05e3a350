"""Servicers: a message becomes a call, its result a message."""
