"""Messages of QueryService to plain Python and back."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from artstore.v1 import query_pb2
from mesh.elements.disclosure import counts_all, sees_histories
from mesh.errors import InvalidArgument
from mesh.follower.cursor import SyncStatus
from mesh.follower.rows import POLICIES, to_file
from mesh.identity.caller import ALL_NAMESPACES, Caller
from mesh.paging import page_size_of
from query_server.search.index import Hit, Page
from query_server.search.request import (
    DEFAULT_PAGE_SIZE,
    MAX_FILTER_VALUES,
    Filters,
    SearchQuery,
    check_text,
    parse_order,
)

_FACETS = {
    "content_type": query_pb2.FACET_FIELD_CONTENT_TYPE,
    "tag": query_pb2.FACET_FIELD_TAG,
    "storage_element_id": query_pb2.FACET_FIELD_STORAGE_ELEMENT_ID,
}
_FACET_NAMES = {number: name for name, number in _FACETS.items()}
_TIMES = (
    "created_after_at",
    "created_before_at",
    "updated_after_at",
    "updated_before_at",
    "expires_before_at",
)
_LISTS = (
    "storage_element_ids",
    "namespaces",
    "created_by",
    "content_types",
    "extensions",
    "tags",
)


def _require_short(field: str, values: Sized) -> None:
    """Before anybody looks at one of them."""
    if len(values) > MAX_FILTER_VALUES:
        raise InvalidArgument(f"at most {MAX_FILTER_VALUES} values", field=field)


def _moment(filters: query_pb2.SearchFilters, field: str) -> datetime | None:
    if not filters.HasField(field):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(filters, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument("not a time", field=f"filters.{field}") from error


def _plain(field: str, values: list[str]) -> list[str]:
    if any("\0" in value for value in values):
        raise InvalidArgument("must not hold NUL", field=f"filters.{field}")
    return values


def _possible(field: str, values: list[str]) -> list[str]:
    """What no file can be would answer nothing, and nobody would be told why."""
    # Files without an extension are found by an empty one.
    if field != "extensions" and "" in values:
        raise InvalidArgument("must not be empty", field=f"filters.{field}")
    for value in values:
        if field == "extensions" and any(character in value for character in "*/"):
            raise InvalidArgument(
                f"{value[:40]!r} is no extension such as pdf or tar.gz", field="filters.extensions"
            )
        if field == "content_types" and (value.startswith("*") or value.endswith("/")):
            raise InvalidArgument(
                f"{value[:40]!r} is no media type such as image/png or image/*",
                field="filters.content_types",
            )
    return values


def _policies(numbers: Sequence[int]) -> list[str]:
    unknown = next((number for number in numbers if number not in POLICIES), None)
    if unknown is not None:
        # Left out, it would let every file pass.
        raise InvalidArgument(
            f"no retention policy has the number {unknown}", field="filters.retention_policies"
        )
    return [POLICIES[number] for number in numbers]


def _facets(request: query_pb2.SearchFilesRequest) -> list[str]:
    _require_short("facet_fields", request.facet_fields)
    asked = list(request.facet_fields)
    if request.omit_facets:
        if asked:
            raise InvalidArgument("asks for facets and for none", field="omit_facets")
        return []
    unknown = next((number for number in asked if number not in _FACET_NAMES), None)
    if unknown is not None:
        raise InvalidArgument(f"no facet has the number {unknown}", field="facet_fields")
    return [_FACET_NAMES[number] for number in dict.fromkeys(asked)] or list(_FACETS)


def _sizes(message: query_pb2.SearchFilters) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for name in ("min_size_bytes", "max_size_bytes"):
        found[name] = getattr(message, name) if message.HasField(name) else None
        if (found[name] or 0) < 0:
            raise InvalidArgument("must not be negative", field=f"filters.{name}")
    least, most = found.values()
    if least is not None and most is not None and least > most:
        raise InvalidArgument("is more than max_size_bytes", field="filters.min_size_bytes")
    return found


def _moments(message: query_pb2.SearchFilters) -> dict[str, datetime | None]:
    found = {name: _moment(message, name) for name in _TIMES}
    for what in ("created", "updated"):
        after, before = found[f"{what}_after_at"], found[f"{what}_before_at"]
        if after is not None and before is not None and after >= before:
            raise InvalidArgument(
                f"is not before {what}_before_at", field=f"filters.{what}_after_at"
            )
    return found


def to_filters(message: query_pb2.SearchFilters) -> Filters:
    """The filters of a request.

    Raises:
        InvalidArgument: naming the field.
    """
    for name in (*_LISTS, "retention_policies", "attributes"):
        _require_short(f"filters.{name}", getattr(message, name))
    found: dict[str, Any] = {
        name: _possible(name, _plain(name, list(getattr(message, name)))) for name in _LISTS
    }
    found |= _moments(message) | _sizes(message)
    attributes = dict(message.attributes)
    _plain("attributes", [*attributes.keys(), *attributes.values()])
    return Filters(
        **found,
        attributes=attributes,
        retention_policies=_policies(message.retention_policies),
    )


def readable(caller: Caller) -> frozenset[str] | None:
    """The namespaces a caller may read; None means all."""
    return None if ALL_NAMESPACES in caller.namespaces_read else caller.namespaces_read


def to_query(request: query_pb2.SearchFilesRequest, caller: Caller) -> SearchQuery:
    """The search of a request.

    Raises:
        InvalidArgument: naming the field.
    """
    text = check_text(request.query)
    order, descending = parse_order(request.order_by, has_text=bool(text))
    return SearchQuery(
        text=text,
        filters=to_filters(request.filters),
        order=order,
        descending=descending,
        page_size=page_size_of(request.page_size, default=DEFAULT_PAGE_SIZE),
        page_token=request.page_token,
        readable=readable(caller),
        whole=request.query,
        facets=_facets(request),
    )


def _result(hit: Hit) -> query_pb2.SearchResult:
    result = query_pb2.SearchResult(file=to_file(hit.row), score=hit.score)
    result.highlights.update(hit.highlights)
    return result


def from_page(page: Page, *, complete: bool) -> query_pb2.SearchFilesResponse:
    """The answer to a search."""
    return query_pb2.SearchFilesResponse(
        results=[_result(hit) for hit in page.hits],
        total_count=page.total,
        total_is_exact=page.exact,
        facets=[
            query_pb2.Facet(
                field=_FACETS[name],
                values=[query_pb2.FacetValue(value=value, count=count) for value, count in values],
                is_exact=page.facets_exact,
            )
            for name, values in page.facets.items()
        ],
        next_page_token=page.next_page_token,
        index_complete=complete,
    )


def from_status(
    status: SyncStatus, file_count: int, now: datetime, caller: Caller
) -> query_pb2.ElementSyncStatus:
    """How far one element is followed, as far as that is for `caller`."""
    lag = max(0, status.head - status.cursor.sequence)
    behind = (now - status.behind_since).total_seconds() if status.behind_since else 0.0
    message = query_pb2.ElementSyncStatus(
        storage_element_id=status.element_id,
        epoch=status.cursor.epoch if sees_histories(caller) else "",
        position=status.cursor.sequence if counts_all(caller) else 0,
        head_position=max(status.head, status.cursor.sequence) if counts_all(caller) else 0,
        lag_changes=lag,
        lag_seconds=max(0.0, behind) if lag or status.last_error else 0.0,
        last_error=status.last_error,
        complete=status.complete,
        file_count=file_count,
    )
    if status.last_contact_at is not None:
        message.last_contact_at.FromDatetime(status.last_contact_at)
    return message
