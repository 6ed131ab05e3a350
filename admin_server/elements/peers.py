"""Elements that others name: an admin whose tables were lost knows of them before they report."""

from __future__ import annotations

from collections.abc import Iterable, Set

from admin_server.elements.element import RegisteredElement


def unheard(elements: Iterable[RegisteredElement], forgotten: Set[str]) -> list[str]:
    """Ids of those that may have files and have not reported to these tables.

    Args:
        forgotten: those that are no part of the mesh any more.
    """
    known = list(elements)
    named = {peer for element in known for peer in element.report.peers}
    joined = {element.storage_element_id for element in known if element.has_joined}
    return sorted(named - joined - forgotten)


def told_to(
    element_id: str, elements: Iterable[RegisteredElement], forgotten: Set[str]
) -> list[str]:
    """The others that an element is told of, to name them to an admin that has lost its tables."""
    known = list(elements)
    joined = {element.storage_element_id for element in known if element.has_joined}
    return sorted(joined.union(unheard(known, forgotten)) - {element_id})
