"""Files of an element: describe, list, refresh, update, delete, bring back, download."""
