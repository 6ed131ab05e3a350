"""Searching the index: text, filters, order, pages, facets, highlights."""
