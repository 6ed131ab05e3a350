"""Files of an element: describe, list, update, delete, bring back, download."""
