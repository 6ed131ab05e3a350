"""Descriptions of files: found, listed, searched, changed."""
