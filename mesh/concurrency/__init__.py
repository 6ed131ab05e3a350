"""Tasks: watched, started again, or carried on to their end."""
