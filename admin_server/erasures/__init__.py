"""Erasing files for ever, everywhere: what was asked for, and what remains to be done of it."""
