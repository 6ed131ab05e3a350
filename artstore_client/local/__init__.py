"""This machine's side: threads that may block, open files, checksums."""
