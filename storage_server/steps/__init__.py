"""The steps of a file's life that admin has this element take."""
