"""Where an upload goes: Sequential Fill over the view of the elements, and whom to ask last."""
