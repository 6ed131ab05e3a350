"""A search index of a test: files go in as a follower writes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from artstore.v1.types_pb2 import File, FileState, RetentionPolicy
from mesh.follower import Cursor, ReplicaTable
from mesh.follower.shown import ShownReplicas
from mesh.postgres.database import Database
from query_server.databases import followed_database, searched_database
from query_server.following.tables import CURSORS, migrate
from query_server.search.index import Page, SearchIndex
from query_server.search.request import Filters, SearchQuery, check_text, parse_order
from query_server.search.table import TABLE

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Searched:
    """A search index and the table it searches."""

    replicas: ReplicaTable
    index: SearchIndex
    database: Database

    async def put(self, *files: File, element: str = "se-01") -> None:
        """Write files as changes of one element's feed."""
        lead = await self.replicas.lead(element, seconds=60)
        assert lead is not None
        old = lead.cursor
        new = Cursor(old.epoch, old.sequence + len(files), "x")
        changes = [(old.sequence + n, file) for n, file in enumerate(files, 1)]
        await self.replicas.apply(element, old, new, files=changes, removed=[])

    async def remove(self, *files: File, element: str = "se-01") -> None:
        """Take files away that an element purged."""
        lead = await self.replicas.lead(element, seconds=60)
        assert lead is not None
        new = Cursor(lead.cursor.epoch, lead.cursor.sequence + 1, "x")
        ids = [file.file_id for file in files]
        await self.replicas.apply(element, lead.cursor, new, files=[], removed=ids)

    async def search(self, text: str = "", order: str = "", **fields: Any) -> Page:
        """One page."""
        return await self.index.search(query(text, order, **fields))

    async def names(self, text: str = "", order: str = "", **fields: Any) -> list[str]:
        """Names of the files of one page, in its order."""
        page = await self.search(text, order, **fields)
        return [hit.row["original_filename"] for hit in page.hits]


@asynccontextmanager
async def searched_index(url: str) -> AsyncIterator[Searched]:
    """Make the tables in a database, unless they are there."""
    await migrate(url)
    followed, searched = followed_database(url), searched_database(url)
    replicas = ShownReplicas(followed, table=TABLE, prefix=CURSORS, leader="test")
    try:
        yield Searched(replicas, SearchIndex(searched), searched)
    finally:
        await followed.close()
        await searched.close()


async def every_page(searched: Searched, search: SearchQuery) -> list[str]:
    """Names of the files of all pages, in order."""
    found: list[str] = []
    while True:
        page = await searched.index.search(search)
        found += [hit.row["original_filename"] for hit in page.hits]
        if not page.next_page_token:
            return found
        search = replace(search, page_token=page.next_page_token)


def query(text: str = "", order: str = "", **fields: Any) -> SearchQuery:
    """A checked query of a caller who may read everything."""
    whole, text = text, check_text(text)
    by, descending = parse_order(order, has_text=bool(text))
    return replace(SearchQuery(text, Filters(), by, descending, 50, "", None, whole), **fields)


def make_file(name: str, **fields: Any) -> File:
    """A file as an element tells of it."""
    file = File(
        file_id=str(uuid4()),
        storage_element_id="se-01",
        revision=1,
        state=FileState.FILE_STATE_ACTIVE,
        namespace="default",
        original_filename=name,
        content_type="application/pdf",
        retention_policy=RetentionPolicy.RETENTION_POLICY_TEMPORARY,
        created_by="alice",
    )
    for key, value in fields.items():
        if key == "attributes":
            file.attributes.update(value)
        elif key == "tags":
            file.tags.extend(value)
        elif key.endswith("_at"):
            getattr(file, key).FromDatetime(value)
        else:
            setattr(file, key, value)
    return file
