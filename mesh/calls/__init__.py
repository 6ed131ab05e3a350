"""Calls to other servers: channels, TLS, and statuses as exceptions and back."""
