"""What is done by the clock: trash, old tombstones, leftovers, the feed's tail."""
