"""How rows and sidecars agree: the check and its report."""
