"""Which element has which file, followed from the elements' change feeds."""
