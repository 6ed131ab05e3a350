"""Uploads: in one stream, and resumable, from the header to the commit."""
