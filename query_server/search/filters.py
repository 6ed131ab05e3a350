"""Filters as SQL conditions with parameters."""

from __future__ import annotations

from typing import Any

import orjson

from query_server.search.request import Filters


class Conditions:
    """Conditions joined by AND, with their parameters."""

    def __init__(self) -> None:
        self.clauses: list[str] = ["state = 'active'"]
        self.parameters: list[Any] = []

    def parameter(self, value: object) -> str:
        """Add a parameter; its placeholder."""
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def add(self, clause: str, value: object) -> None:
        """Add a condition; `{}` in it stands for the value."""
        self.clauses.append(clause.format(self.parameter(value)))

    @property
    def sql(self) -> str:
        """All of them."""
        return " AND ".join(self.clauses)


def _prefix(media_type: str) -> str:
    escaped = media_type[:-1].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped + "%"


def apply(conditions: Conditions, filters: Filters, readable: frozenset[str] | None) -> None:
    """Add what the filters and the caller's namespaces ask for."""
    if readable is not None:
        conditions.add("namespace = ANY({}::text[])", sorted(readable))
    for column, values in (
        ("storage_element_id", filters.storage_element_ids),
        ("namespace", filters.namespaces),
        ("created_by", filters.created_by),
        ("retention_policy", filters.retention_policies),
    ):
        if values:
            conditions.add(f"{column} = ANY({{}}::text[])", list(values))
    if filters.extensions:
        wanted = [name.lower().removeprefix(".") for name in filters.extensions]
        conditions.add("extension = ANY({}::text[])", wanted)
    if filters.content_types:
        _content_types(conditions, filters)
    if filters.tags:
        conditions.add("tags @> {}::text[]", list(filters.tags))
    for clause, value in (
        ("size_bytes >= {}", filters.min_size_bytes),
        ("size_bytes <= {}", filters.max_size_bytes),
        ("created_at >= {}", filters.created_after_at),
        ("created_at < {}", filters.created_before_at),
        ("updated_at >= {}", filters.updated_after_at),
        ("updated_at < {}", filters.updated_before_at),
        ("expires_at < {}", filters.expires_before_at),
    ):
        if value is not None:
            conditions.add(clause, value)
    if filters.attributes:
        conditions.add("attributes @> {}::jsonb", orjson.dumps(dict(filters.attributes)).decode())


def _content_types(conditions: Conditions, filters: Filters) -> None:
    exact = [name for name in filters.content_types if not name.endswith("/*")]
    families = [_prefix(name) for name in filters.content_types if name.endswith("/*")]
    clauses = []
    if exact:
        clauses.append(f"content_type = ANY({conditions.parameter(exact)}::text[])")
    if families:
        clauses.append(f"content_type LIKE ANY({conditions.parameter(families)}::text[])")
    conditions.clauses.append(f"({' OR '.join(clauses)})")
