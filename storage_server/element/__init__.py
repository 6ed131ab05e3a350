"""The element itself: identity, mode, opening, the one writer, room and clock."""
