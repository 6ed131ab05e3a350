"""The query server: a search index over all storage elements, and downloads from them."""
