"""What this element asks the others."""
