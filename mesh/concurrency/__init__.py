"""Tasks, watched or carried on to their end, and how they wait for one another."""
