"""The search index on real PostgreSQL: what is found by which text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio

from artstore.v1.types_pb2 import File, FileState, RetentionPolicy
from mesh.database import Database
from mesh.errors import InvalidArgument
from mesh.follower import Cursor, ReplicaTable
from mesh.migrations import upgrade
from query_server.app import MIGRATION_LOCK, MIGRATIONS
from query_server.search.index import TABLE, SearchIndex
from query_server.search.request import Filters, SearchQuery, check_text, parse_order

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(database_url: str) -> AsyncIterator[ReplicaTable]:
    await upgrade(
        database_url,
        script_location=MIGRATIONS,
        version_table="query_alembic_version",
        lock_key=MIGRATION_LOCK,
    )
    database = Database(database_url)
    yield ReplicaTable(database, table=TABLE, prefix="sync", leader="test")
    await database.close()


def make_file(name: str, **fields: object) -> File:
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
            file.attributes.update(value)  # type: ignore[arg-type]
        elif key == "tags":
            file.tags.extend(value)  # type: ignore[arg-type]
        elif key == "created_at":
            file.created_at.FromDatetime(value)  # type: ignore[arg-type]
        else:
            setattr(file, key, value)
    return file


async def put(replicas: ReplicaTable, *files: File, element: str = "se-01") -> None:
    lead = await replicas.lead(element, seconds=60)
    assert lead is not None
    old = lead.cursor
    new = Cursor(old.epoch, old.sequence + len(files), "x")
    changes = [(old.sequence + n, file) for n, file in enumerate(files, 1)]
    await replicas.apply(element, old, new, files=changes, removed=[])


def query(text: str = "", order: str = "", **fields: object) -> SearchQuery:
    text = check_text(text)
    by, descending = parse_order(order, has_text=bool(text))
    made = SearchQuery(text, Filters(), by, descending, 50, "", None)
    return replace(made, **fields)  # type: ignore[arg-type]


async def names(replicas: ReplicaTable, search: SearchQuery) -> list[str]:
    page = await SearchIndex(replicas.database).search(search)
    return [hit.row["original_filename"] for hit in page.hits]


REPORT = "Quarterly_report-2026.Q3 final.pdf"


@pytest.mark.parametrize(
    "text",
    [
        "quarterly",
        "quart",
        "REPORT",
        "fin",
        "2026",
        "invoices",  # the description says "invoice"
        "sign",  # ... "signed"
        "документами",  # ... "документы"
        "договор",  # ... "договора"
        "urgent",
        "бухгалтерия",
        "acme",
        "report документ acme",
    ],
)
async def test_a_file_is_found_by_any_word_its_prefix_or_another_grammatical_form(
    replicas: ReplicaTable, text: str
) -> None:
    await put(
        replicas,
        make_file(
            REPORT,
            description="A signed invoice, подписанные документы и копия договора",
            tags=["urgent", "Бухгалтерия"],
            attributes={"customer": "Acme"},
        ),
        make_file("holiday.jpg", content_type="image/jpeg"),
    )
    assert await names(replicas, query(text)) == [REPORT]


@pytest.mark.parametrize(
    "text",
    [
        "'",
        '"',
        "%",
        "_",
        "\\",
        "a & !b | (c",
        ":*",
        "foo:*bar",
        "x" * 1024,
        "🙂",
        "-",
        "<->",
        "a'b",
    ],
)
async def test_search_text_is_data(replicas: ReplicaTable, text: str) -> None:
    await put(replicas, make_file("plain.txt"))
    await names(replicas, query(text))


@pytest.mark.parametrize("text", ["a\0b", "x" * 1025])
async def test_text_with_nul_or_over_the_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        query(text)


async def test_a_typo_finds_the_name_when_nothing_else_matches(replicas: ReplicaTable) -> None:
    await put(replicas, make_file("architecture.pdf"), make_file("holiday.jpg"))
    assert await names(replicas, query("arhitecture")) == ["architecture.pdf"]


async def test_tombstones_and_foreign_namespaces_are_not_found(replicas: ReplicaTable) -> None:
    gone = make_file("gone.txt", state=FileState.FILE_STATE_DELETED)
    await put(replicas, gone, make_file("secret.txt", namespace="hr"), make_file("open.txt"))
    assert await names(replicas, query("txt", readable=frozenset({"default"}))) == ["open.txt"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(storage_element_ids=["se-02"]), []),
        (Filters(created_by=["bob"]), ["b.jpg"]),
        (Filters(content_types=["image/*"]), ["b.jpg"]),
        (Filters(content_types=["application/pdf"]), ["a.PDF"]),
        (Filters(extensions=[".pdf"]), ["a.PDF"]),
        (Filters(tags=["x", "y"]), ["a.PDF"]),
        (Filters(min_size_bytes=10), ["b.jpg"]),
        (Filters(max_size_bytes=9), ["a.PDF"]),
        (Filters(created_after_at=START + timedelta(days=1)), ["b.jpg"]),
        (Filters(created_before_at=START + timedelta(days=1)), ["a.PDF"]),
        (Filters(retention_policies=["permanent"]), ["b.jpg"]),
        (Filters(attributes={"k": "v"}), ["b.jpg"]),
    ],
)
async def test_each_filter_narrows_the_result(
    replicas: ReplicaTable, filters: Filters, expected: Sequence[str]
) -> None:
    await put(
        replicas,
        make_file("a.PDF", tags=["x", "y"], size_bytes=1, created_at=START),
        make_file(
            "b.jpg",
            content_type="image/jpeg",
            created_by="bob",
            tags=["x"],
            size_bytes=10,
            created_at=START + timedelta(days=2),
            retention_policy=RetentionPolicy.RETENTION_POLICY_PERMANENT,
            attributes={"k": "v"},
        ),
    )
    assert await names(replicas, query(filters=filters)) == list(expected)


@pytest.mark.parametrize(
    "order", ["", "relevance desc", "created_at", "size_bytes desc", "original_filename"]
)
async def test_pages_hold_every_match_once_in_order(replicas: ReplicaTable, order: str) -> None:
    files = [
        make_file(f"doc {n % 7} {n}.txt", size_bytes=n % 5, created_at=START + timedelta(hours=n))
        for n in range(25)
    ]
    await put(replicas, *files)
    index = SearchIndex(replicas.database)
    search, seen, pages = query("doc", order, page_size=4), [], 0
    while True:
        pages += 1
        page = await index.search(search)
        assert (page.total, page.exact) == (25, True)
        seen += [hit.row["file_id"] for hit in page.hits]
        if not page.next_page_token:
            break
        search = replace(search, page_token=page.next_page_token)
    assert pages == 7
    assert sorted(seen) == sorted(file.file_id for file in files)


async def test_a_page_token_of_another_query_is_refused(replicas: ReplicaTable) -> None:
    await put(replicas, *(make_file(f"doc {n}.txt") for n in range(3)))
    page = await SearchIndex(replicas.database).search(query("doc", page_size=1))
    for wrong in (page.next_page_token, "garbage", "e30"):
        with pytest.raises(InvalidArgument):
            await SearchIndex(replicas.database).search(query("other", page_token=wrong))


async def test_facets_and_highlights_tell_of_the_matches(replicas: ReplicaTable) -> None:
    await put(
        replicas,
        make_file("report_a.pdf", tags=["x"], description="Two Reports about cats"),
        make_file("report_b.jpg", content_type="image/jpeg", tags=["x", "y"]),
    )
    page = await SearchIndex(replicas.database).search(query("report"))
    assert page.facets["tag"] == [("x", 2), ("y", 1)]
    assert dict(page.facets["content_type"]) == {"application/pdf": 1, "image/jpeg": 1}
    assert page.facets["storage_element_id"] == [("se-01", 2)]
    marks = {hit.row["original_filename"]: hit.highlights for hit in page.hits}
    assert marks["report_a.pdf"]["original_filename"] == "\x02report\x03_a.pdf"
    assert marks["report_a.pdf"]["description"] == "Two \x02Reports\x03 about cats"
