"""Sending: from a source of bytes to the file that it became."""
