"""A file's life across elements: what is known of it, and what comes next."""
