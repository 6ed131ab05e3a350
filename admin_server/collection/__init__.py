"""Taking away what nobody needs any more: what a run would, what it did, and when one comes."""
