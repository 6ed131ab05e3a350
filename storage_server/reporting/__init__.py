"""What the element says of itself: to callers, to Valkey, to admin."""
