"""The storage elements of the mesh: what they report, what admin decides, who is healthy."""
