"""Receiving: from a file to the place where its bytes are wanted."""
