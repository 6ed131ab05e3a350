"""How the index follows the elements, and its tables."""
