"""The element itself: identity, mode, the one writer, room, and its reports."""
