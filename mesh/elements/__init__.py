"""Which storage elements there are, and places in their feeds."""
