"""Where an upload goes: the view of the elements, and Sequential Fill over it."""
