"""Blobs, sidecars and element.json behind one port."""
