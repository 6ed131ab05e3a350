"""Why a file is where it is, how it is there, and what happens to it next."""
