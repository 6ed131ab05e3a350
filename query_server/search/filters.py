"""Filters as SQL conditions with parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from mesh import content_type
from query_server.search.request import Filters
from query_server.search.table import KEY_CHARACTERS

# SQL of what any search may find: nothing has to run for a file to expire.
FOUND = ("state = 'active'", "(expires_at IS NULL OR expires_at > now() OR legal_hold)")


class Conditions:
    """Conditions joined by AND, with their parameters."""

    def __init__(self) -> None:
        self.clauses: list[str] = list(FOUND)
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


def apply(conditions: Conditions, filters: Filters, readable: frozenset[str] | None) -> None:
    """Add what the filters and the caller's namespaces ask for."""
    if readable is not None:
        conditions.clauses.append(_one_of(conditions, "namespace", sorted(readable)))
    for column, values in (
        ("namespace", filters.namespaces),
        ("created_by", filters.created_by),
    ):
        if values:
            conditions.clauses.append(_one_of(conditions, column, values))
    for column, values in (
        ("storage_element_id", filters.storage_element_ids),
        ("retention_policy", filters.retention_policies),
    ):
        if values:
            conditions.clauses.append(_any_of(conditions, column, values))
    if filters.extensions:
        _extensions(conditions, filters.extensions)
    if filters.content_types:
        _content_types(conditions, filters.content_types)
    if filters.tags:
        _tags(conditions, filters.tags)
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


def _one_of(conditions: Conditions, column: str, values: Sequence[str]) -> str:
    """The column is one of the texts; the index has the beginnings of them."""
    keys = [value[:KEY_CHARACTERS] for value in values]
    clause = _any_of(conditions, f"left({column}, {KEY_CHARACTERS})", keys)
    if any(len(key) == KEY_CHARACTERS for key in keys):
        clause += f" AND {_any_of(conditions, column, values)}"
    return f"({clause})"


def _any_of(conditions: Conditions, expression: str, values: Sequence[str]) -> str:
    """One value is compared by itself, since a GIN index takes no list."""
    if len(values) == 1:
        return f"{expression} = {conditions.parameter(values[0])}"
    return f"{expression} = ANY({conditions.parameter(list(values))}::text[])"


def _extensions(conditions: Conditions, names: Sequence[str]) -> None:
    """Of one with a dot in it, such as `tar.gz`, the index has the last part."""
    folded = [name.lower().removeprefix(".") for name in names]
    clauses = []
    simple = [name for name in folded if "." not in name]
    if simple:
        clauses.append(_any_of(conditions, "extension", simple))
    for name in folded:
        if "." in name:
            end, whole = map(conditions.parameter, (name.rpartition(".")[2], f".{name}"))
            ends = f"right(lower(original_filename), length({whole}::text)) = {whole}::text"
            clauses.append(f"(extension = {end} AND {ends})")
    conditions.clauses.append(f"({' OR '.join(clauses)})")


def _tags(conditions: Conditions, tags: Sequence[str]) -> None:
    keys = [tag[:KEY_CHARACTERS] for tag in tags]
    conditions.add("tag_keys @> {}::text[]", keys)
    if any(len(key) == KEY_CHARACTERS for key in keys):
        conditions.add("tags @> {}::text[]", list(tags))


def _content_types(conditions: Conditions, names: Sequence[str]) -> None:
    folded = [content_type.folded(name) for name in names]
    exact = [name for name in folded if not name.endswith("/*")]
    families = [name[:-2] for name in folded if name.endswith("/*")]
    clauses = []
    if exact:
        clauses.append(_one_of(conditions, "media_type", exact))
    if families:
        clauses.append(_any_of(conditions, "content_family", families))
    conditions.clauses.append(f"({' OR '.join(clauses)})")
