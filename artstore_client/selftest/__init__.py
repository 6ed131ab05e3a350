"""The checks of a running mesh that `artstore selftest` makes."""
