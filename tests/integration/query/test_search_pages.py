"""The search index on real PostgreSQL: in which order, page by page, and what is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from artstore.v1.types_pb2 import File, FileState
from mesh.errors import InvalidArgument
from query_server.rpc import messages
from query_server.search import index, statements
from query_server.search.request import Filters
from tests.integration.query.searching import START, Searched, every_page, make_file, query

DAY = timedelta(days=1)
# Each file's name, and what it is sorted by; every value occurs several times.
SORTED_FILES = [
    make_file(
        f"{'Doc' if n % 2 else 'doc'} {n % 7} {n:02}.txt",
        file_id=f"{n * 7 % 25:08}-0000-7000-8000-000000000000",
        size_bytes=n % 5,
        created_at=START + timedelta(hours=n % 6),
        updated_at=START + timedelta(hours=n % 4),
        description="doc " * (n % 3),
    )
    for n in range(25)
]
KEYS: dict[str, Callable[[File], Any]] = {
    "created_at": lambda file: file.created_at.seconds,
    "updated_at": lambda file: file.updated_at.seconds,
    "size_bytes": lambda file: file.size_bytes,
    "original_filename": lambda file: file.original_filename.lower(),
}


@pytest.mark.parametrize("order", [f"{name}{way}" for name in KEYS for way in ("", " desc")])
async def test_pages_hold_every_match_once_in_order(searched: Searched, order: str) -> None:
    await searched.put(*SORTED_FILES, make_file("other.txt"))
    key = KEYS[order.split(maxsplit=1)[0]]
    expected = sorted(
        SORTED_FILES, key=lambda file: (key(file), file.file_id), reverse=order.endswith("desc")
    )
    found = await every_page(searched, query("doc", order, page_size=4))
    assert found == [file.original_filename for file in expected]


async def test_the_most_relevant_come_first_and_the_newest_of_them(searched: Searched) -> None:
    await searched.put(*SORTED_FILES)
    everything = await searched.search("doc", page_size=50)
    ranks = [(hit.score, hit.row["created_at"], hit.row["file_id"]) for hit in everything.hits]
    assert ranks == sorted(ranks, reverse=True)
    assert len({score for score, _, _ in ranks}) > 1
    found = await every_page(searched, query("doc", page_size=4))
    assert found == [hit.row["original_filename"] for hit in everything.hits]


@pytest.mark.parametrize("order", ["", "created_at desc", "original_filename", "size_bytes"])
async def test_writes_between_pages_hide_and_repeat_nothing(searched: Searched, order: str) -> None:
    await searched.put(*SORTED_FILES)
    search = query("doc", order, page_size=5)
    whole = await every_page(searched, search)
    first = await searched.index.search(search)
    shown = [hit.row["original_filename"] for hit in first.hits]
    by_name = {file.original_filename: file for file in SORTED_FILES}
    gone = [by_name[shown[1]], by_name[whole[12]]]
    deleted = [File() for _ in gone]
    for copy, file in zip(deleted, gone, strict=True):
        copy.CopyFrom(file)
        copy.state = FileState.FILE_STATE_DELETED
    new = [make_file(f"doc new {n}.txt", created_at=START + DAY) for n in range(3)]
    await searched.put(*deleted, *new)
    rest = await every_page(searched, replace(search, page_token=first.next_page_token))
    left = [name for name in whole[5:] if name != gone[1].original_filename]
    assert [name for name in rest if "new" not in name] == left
    assert len(rest) == len(set(rest))
    if not order:
        assert rest == left


async def test_ranked_matches_are_those_of_the_first_page(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "MATCHES_CAP", 6)
    await searched.put(*SORTED_FILES[:6])
    first = await searched.search("doc", page_size=3)
    # As many newer ones as are ranked at all.
    await searched.put(*(make_file(f"doc new {n}.txt", created_at=START + DAY) for n in range(6)))
    rest = await searched.search("doc", page_size=3, page_token=first.next_page_token)
    names = {hit.row["original_filename"] for hit in [*first.hits, *rest.hits]}
    assert names == {file.original_filename for file in SORTED_FILES[:6]}


async def test_of_many_matches_the_newest_are_ranked_and_the_others_follow_by_time(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the index were so large that not all matches can be looked at."""
    for name, value in (("WALKED_ROWS", 15), ("RANKED", 9)):
        monkeypatch.setattr(statements, name, value)
    for name in ("WALKED_ROWS", "FEW_MATCHES"):
        monkeypatch.setattr(index, name, 0)
    await searched.put(*SORTED_FILES, make_file("other.txt", created_at=START + DAY))
    await searched.database.execute(f"ANALYZE {index.TABLE}")
    newest_first = sorted(SORTED_FILES, key=lambda f: (f.created_at.seconds, f.file_id))[::-1]
    first = await searched.search("doc", page_size=4)
    # One of the 15 that were walked is no match.
    assert (first.total, first.exact) == (14, False)
    found, token = list(first.hits), first.next_page_token
    while token:
        page = await searched.search("doc", page_size=4, page_token=token)
        assert (page.total, page.exact) == (14, False)
        found, token = [*found, *page.hits], page.next_page_token
        # Newer than all that was ranked.
        await searched.put(make_file("doc new.txt", created_at=START + DAY))
    names = [hit.row["original_filename"] for hit in found]
    ranked, older = found[:9], names[9:]
    assert set(names[:9]) == {file.original_filename for file in newest_first[:9]}
    ranks = [(hit.score, hit.row["created_at"], hit.row["file_id"]) for hit in ranked]
    assert ranks == sorted(ranks, reverse=True)
    assert older == [file.original_filename for file in newest_first[9:]]
    by_size = await every_page(searched, query("doc", "size_bytes", page_size=4))
    assert set(names) < set(by_size)


async def test_long_texts_make_a_page_shorter_and_lose_nothing(searched: Searched) -> None:
    files = [make_file(f"doc {n}.txt", size_bytes=n, description="x" * 30_000) for n in range(150)]
    await searched.put(*files)
    search = query("doc", "size_bytes", page_size=1000)
    page = await searched.index.search(search)
    assert 50 < len(page.hits) < 150
    answer = messages.from_page(page, complete=True)
    assert answer.ByteSize() < 4 * 1024 * 1024 - 1024
    assert await every_page(searched, search) == [file.original_filename for file in files]


async def test_a_page_token_of_another_query_is_refused(searched: Searched) -> None:
    await searched.put(*(make_file(f"doc {n}.txt") for n in range(3)))
    page = await searched.index.search(query("doc", page_size=1))
    for wrong in (page.next_page_token, "garbage", "e30"):
        with pytest.raises(InvalidArgument):
            await searched.index.search(query("other", page_token=wrong))


async def test_facets_and_counts_tell_of_the_matches(searched: Searched) -> None:
    await searched.put(
        make_file("report_a.pdf", tags=["x"]),
        make_file("report_b.jpg", content_type="image/jpeg", tags=["x", "y"]),
        make_file("other.pdf", tags=["z"]),
    )
    page = await searched.search("report")
    assert (page.total, page.exact) == (2, True)
    assert page.facets["tag"] == [("x", 2), ("y", 1)]
    assert dict(page.facets["content_type"]) == {"application/pdf": 1, "image/jpeg": 1}
    assert page.facets["storage_element_id"] == [("se-01", 2)]


async def test_facets_and_counts_keep_to_what_the_caller_may_read(searched: Searched) -> None:
    await searched.put(
        make_file("report_a.pdf", tags=["x"]),
        make_file("report_b.jpg", content_type="image/secret", tags=["hush"], namespace="hr"),
    )
    for text in ("", "report"):
        page = await searched.search(text, readable=frozenset({"default"}))
        assert (page.total, page.exact) == (1, True)
        assert page.facets == {
            "content_type": [("application/pdf", 1)],
            "storage_element_id": [("se-01", 1)],
            "tag": [("x", 1)],
        }
    assert await searched.names(readable=frozenset()) == []
    filters = Filters(namespaces=["hr"])
    assert await searched.names(filters=filters, readable=frozenset({"default"})) == []


async def test_beyond_the_cap_the_count_is_a_lower_bound(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "MATCHES_CAP", 10)
    await searched.put(*SORTED_FILES)
    page = await searched.search("doc", "created_at")
    assert (page.total, page.exact) == (10, False)
    assert page.facets["content_type"] == [("application/pdf", 11)]


async def test_a_file_counts_once_whatever_its_tags_and_copies(searched: Searched) -> None:
    twice = make_file("report twice.pdf", tags=["x", "x", "y"], created_at=START)
    await searched.put(twice, make_file("report once.pdf", tags=["x"]))
    copy = File()
    copy.CopyFrom(twice)
    copy.storage_element_id = "se-02"
    # As while it moves: newer, and so in another place of most orders.
    copy.created_at.FromDatetime(START + DAY)
    await searched.put(copy, element="se-02")
    for text in ("report", "", "report twice.pdf"):
        page = await searched.search(text)
        assert (page.total, page.exact, len(page.hits)) == (page.total, True, page.total)
        assert page.total == (1 if "twice" in text else 2)
    page = await searched.search("report")
    assert page.facets["tag"] == [("x", 2), ("y", 1)]
    assert page.facets["content_type"] == [("application/pdf", 2)]
    # The later of two homes is the file's.
    assert page.facets["storage_element_id"] == [("se-01", 1), ("se-02", 1)]
    assert page.facets_exact
    for order in ("", "created_at", "created_at desc", "original_filename", "size_bytes"):
        found = await every_page(searched, query("report", order, page_size=1))
        assert sorted(found) == ["report once.pdf", "report twice.pdf"], order
    filters = Filters(storage_element_ids=["se-02"])
    assert await searched.names("report", filters=filters) == ["report twice.pdf"]


async def test_many_matches_have_each_file_once(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WALKED_ROWS", 15), ("RANKED", 9)):
        monkeypatch.setattr(statements, name, value)
    for name in ("WALKED_ROWS", "FEW_MATCHES"):
        monkeypatch.setattr(index, name, 0)
    await searched.put(*SORTED_FILES)
    copies = [File() for _ in SORTED_FILES]
    for copy, file in zip(copies, SORTED_FILES, strict=True):
        copy.CopyFrom(file)
        copy.storage_element_id = "se-02"
    await searched.put(*copies, element="se-02")
    await searched.database.execute(f"ANALYZE {index.TABLE}")
    for order in ("", "created_at", "original_filename desc"):
        found = await every_page(searched, query("doc", order, page_size=4))
        assert len(found) == len(set(found)) == len(SORTED_FILES), order


async def test_facets_are_counted_as_asked(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    await searched.put(*SORTED_FILES)
    assert (await searched.search("doc", facets=[])).facets == {}
    page = await searched.search("doc", facets=["content_type"])
    assert page.facets == {"content_type": [("application/pdf", 25)]}
    for module in (statements, index):
        monkeypatch.setattr(module, "FACET_MATCHES", 10)
    page = await searched.search("doc")
    assert page.facets["content_type"] == [("application/pdf", 10)]
    assert (page.total, page.exact, page.facets_exact) == (25, True, False)
