"""What is done by the clock: trash, leftovers, the feed's tail."""
