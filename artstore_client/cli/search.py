"""`artstore search`, `sync`: the search index."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from artstore.v1 import query_pb2, types_pb2
from artstore_client import Client, errors
from artstore_client.cli import own_changes
from artstore_client.cli.amounts import Before, Since, Size
from artstore_client.cli.completion import complete_element
from artstore_client.cli.output import (
    human_expiry,
    human_size,
    human_time,
    print_error,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.put import parse_attributes
from artstore_client.cli.running import run_command
from artstore_client.cli.visible import visible
from artstore_client.contract import MAX_PAGE_SIZE
from artstore_client.times import timestamp

if TYPE_CHECKING:
    from rich.text import Text


class Retention(enum.StrEnum):
    """A retention policy as the command names it."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"


_POLICIES = {
    Retention.TEMPORARY: types_pb2.RETENTION_POLICY_TEMPORARY,
    Retention.PERMANENT: types_pb2.RETENTION_POLICY_PERMANENT,
}
MATCH_BEGIN, MATCH_END = "\u0002", "\u0003"

_JSON = typer.Option("--json", help="One JSON document.")


_Elements = Annotated[
    list[str] | None, typer.Option(help="On this element.", autocompletion=complete_element)
]
_Namespaces = Annotated[list[str] | None, typer.Option(help="In this namespace.")]
_Uploaders = Annotated[list[str] | None, typer.Option(help="Uploaded by this account.")]
_Types = Annotated[list[str] | None, typer.Option(help="Such as image/*.")]
_Extensions = Annotated[list[str] | None, typer.Option(help="Extension: pdf, or tar.gz.")]
_Tags = Annotated[list[str] | None, typer.Option(help="With this tag.")]
_Attributes = Annotated[list[str] | None, typer.Option(metavar="K=V", help="With this.")]
_Retention = Annotated[Retention | None, typer.Option(help="Kept for a time, or for good.")]
_Facets = Annotated[bool, typer.Option("--facets", help="Count by type, tag and element, too.")]
_Limit = Annotated[int, typer.Option(min=1, max=MAX_PAGE_SIZE, help="Results of a page.")]
_PageToken = Annotated[str, typer.Option(help="next_page_token of the page before.")]
_After = Annotated[
    list[str] | None, typer.Option(metavar="CHANGE_TOKEN", help="Wait for this change.")
]
_Wait = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for your own last changes; 0: not.")
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A page of results as it is asked for, whatever the index has to know first."""

    query: str
    filters: query_pb2.SearchFilters
    order_by: str
    page_size: int
    page_token: str
    omit_facets: bool

    async def page(
        self, client: Client, tokens: Sequence[str] = (), seconds: float | None = None
    ) -> query_pb2.SearchFilesResponse:
        """Ask for it, once the index has these changes.

        Raises:
            DeadlineExceeded: the index has not got them after so many seconds.
        """
        return await client.search(
            self.query,
            filters=self.filters,
            order_by=self.order_by,
            page_size=self.page_size,
            page_token=self.page_token,
            min_change_tokens=tokens,
            omit_facets=self.omit_facets,
            timeout_seconds=seconds,
        )

    async def page_after_own_changes(
        self, client: Client, seconds: float
    ) -> query_pb2.SearchFilesResponse:
        """Ask for it, once the index has what this account last changed from here, or says that
        it has not got it after so many seconds.
        """
        own = own_changes.recall(client.mesh_id) if seconds else []
        if not own:
            return await self.page(client)
        try:
            return await self.page(client, own, seconds)
        except errors.DeadlineExceeded:
            pass
        except errors.InvalidArgument as exc:
            # An element that was put back to an earlier state has lost them.
            if exc.field != "min_change_tokens":
                raise
        print_error("the index does not have your last changes yet")
        return await self.page(client)


def search(
    words: Annotated[list[str] | None, typer.Argument(help="Words or beginnings of words.")] = None,
    *,
    element: _Elements = None,
    namespace: _Namespaces = None,
    by: _Uploaders = None,
    content_type: _Types = None,
    ext: _Extensions = None,
    tag: _Tags = None,
    attr: _Attributes = None,
    min_size: Size = None,
    max_size: Size = None,
    created_after: Since = None,
    created_before: Before = None,
    updated_after: Since = None,
    updated_before: Before = None,
    expires_before: Before = None,
    retention: _Retention = None,
    facets: _Facets = False,
    order_by: Annotated[str, typer.Option(help='Such as "created_at desc".')] = "",
    limit: _Limit = 20,
    page_token: _PageToken = "",
    after: _After = None,
    wait: _Wait = 5.0,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Find files by words of name, description, tags and attributes."""
    filters = query_pb2.SearchFilters(
        storage_element_ids=element or [],
        namespaces=namespace or [],
        created_by=by or [],
        content_types=content_type or [],
        extensions=ext or [],
        tags=tag or [],
        attributes=parse_attributes(attr or []),
        min_size_bytes=min_size,
        max_size_bytes=max_size,
        created_after_at=timestamp(created_after),
        created_before_at=timestamp(created_before),
        updated_after_at=timestamp(updated_after),
        updated_before_at=timestamp(updated_before),
        expires_before_at=timestamp(expires_before),
        retention_policies=[_POLICIES[retention]] if retention else [],
    )
    omit = not (facets or json)
    asked = _Asked(" ".join(words or []), filters, order_by, limit, page_token, omit)

    async def command(client: Client) -> None:
        if after:
            page = await asked.page(client, after)
        else:
            page = await asked.page_after_own_changes(client, wait)
        if json:
            print_json(page)
        else:
            _print_page(page)
            _print_facets(page)

    run_command(command)


def sync(
    element: Annotated[
        str,
        typer.Argument(help="Id of the element; all if left out.", autocompletion=complete_element),
    ] = "",
    status: Annotated[bool, typer.Option("--status", help="Only show how far it is.")] = False,
    json: Annotated[bool, _JSON] = False,
) -> None:
    """Read the elements into the index again (ADMIN), or show how far it follows them."""

    async def command(client: Client) -> None:
        answer = await (client.sync_status(element) if status else client.sync(element))
        if json:
            print_json(answer)
            return
        _print_elements(list(answer.elements))
        if isinstance(answer, query_pb2.SyncIndexResponse):
            print_line(f"{answer.file_count} files in {answer.duration_seconds:.1f} s")
        elif not answer.index_complete:
            print_line("the index is not complete yet")

    run_command(command)


def _print_page(page: query_pb2.SearchFilesResponse) -> None:
    print_table(
        ("id", "element", ">size", "created", "expires", "name"),
        [
            (
                result.file.file_id,
                result.file.storage_element_id,
                human_size(result.file.size_bytes),
                human_time(result.file.created_at),
                human_expiry(result.file),
                _name_cell(result),
            )
            for result in page.results
        ],
    )
    about = "" if page.total_is_exact else "at least "
    print_line(f"{len(page.results)} of {about}{page.total_count}")
    if page.next_page_token:
        print_line(f"more: --page-token {page.next_page_token}")
    if not page.index_complete:
        print_error("the index is not complete yet: files may be missing")


def _print_facets(page: query_pb2.SearchFilesResponse) -> None:
    for facet in page.facets:
        name = query_pb2.FacetField.Name(facet.field).removeprefix("FACET_FIELD_").lower()
        about = "" if facet.is_exact else " (of the first matches)"
        counts = (f"{visible(value.value)} {value.count}" for value in facet.values)
        print_line(f"{name}{about}: {', '.join(counts)}")


def _name_cell(result: query_pb2.SearchResult) -> Text:
    """The whole name with its matches, then the other fields that match."""
    from rich.text import Text

    name = result.file.original_filename
    marked = highlighted(result.highlights.get("original_filename", name))
    # A text that is cut, of another form, or that holds such marks itself is not the name.
    cell = marked if marked.plain == visible(name) else Text(visible(name))
    for field, text in sorted(result.highlights.items()):
        if field != "original_filename":
            cell.append(f"  {visible(field)}: ", style="dim").append_text(highlighted(text))
    return cell


def highlighted(text: str) -> Text:
    """The text with its matches in bold."""
    from rich.text import Text

    shown = Text()
    for number, part in enumerate(text.split(MATCH_BEGIN)):
        match, end, rest = part.partition(MATCH_END) if number else ("", "", part)
        if number and not end:
            match, rest = "", part
        shown.append(visible(match), style="bold yellow").append(visible(rest))
    return shown


def _print_elements(elements: list[query_pb2.ElementSyncStatus]) -> None:
    print_table(
        ("element", ">files", ">position", ">head", ">lag", ">lag s", "complete", "last error"),
        [
            (
                status.storage_element_id,
                str(status.file_count),
                str(status.position),
                str(status.head_position),
                str(status.lag_changes),
                f"{status.lag_seconds:.1f}",
                "yes" if status.complete else "no",
                status.last_error,
            )
            for status in elements
        ],
    )
