"""The search index on real PostgreSQL: what is found by which text."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from artstore.v1.types_pb2 import File, FileState, RetentionPolicy
from mesh.errors import InvalidArgument
from query_server.rpc import messages
from query_server.search import index, statements
from query_server.search.request import Filters, SearchQuery
from tests.integration.query.searching import START, Searched, make_file, query

DAY = timedelta(days=1)
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
    searched: Searched, text: str
) -> None:
    await searched.put(
        make_file(
            REPORT,
            description="A signed invoice, подписанные документы и копия договора",
            tags=["urgent", "Бухгалтерия"],
            attributes={"customer": "Acme"},
        ),
        make_file("holiday.jpg", content_type="image/jpeg"),
    )
    assert await searched.names(text) == [REPORT]


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
async def test_search_text_is_data(searched: Searched, text: str) -> None:
    await searched.put(make_file("plain.txt"))
    await searched.names(text)


@pytest.mark.parametrize("text", ["a\0b", "x" * 1025])
async def test_text_with_nul_or_over_the_limit_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        query(text)


async def test_a_typo_finds_the_name_when_nothing_else_matches(searched: Searched) -> None:
    await searched.put(make_file("architecture.pdf"), make_file("holiday.jpg"))
    assert await searched.names("arhitecture") == ["architecture.pdf"]


async def test_the_closest_names_come_first_page_by_page(searched: Searched) -> None:
    await searched.put(
        make_file("old arhitecturo.txt", created_at=START),
        *(make_file(f"architecture {n}.pdf", created_at=START) for n in range(5)),
        make_file("architecture secret.pdf", namespace="hr"),
        make_file("holiday.jpg"),
    )
    search = query("arhitecture", page_size=2, readable=frozenset({"default"}))
    found = await every_page(searched, search)
    assert found[0] == "old arhitecturo.txt"
    assert sorted(found[1:]) == [f"architecture {n}.pdf" for n in range(5)]
    page = await searched.index.search(search)
    assert (page.total, page.exact) == (6, True)
    extension = Filters(extensions=["txt"])
    assert await searched.names("arhitecture", filters=extension) == ["old arhitecturo.txt"]


async def test_one_match_by_words_keeps_what_only_resembles_out(searched: Searched) -> None:
    await searched.put(make_file("architecture.pdf"), make_file("arhitecture.jpg"))
    assert await searched.names("arhitecture") == ["arhitecture.jpg"]


async def test_a_letter_that_is_written_as_two_characters_is_one(searched: Searched) -> None:
    name = unicodedata.normalize("NFD", "Трудовой договор.pdf")
    await searched.put(make_file(name))
    assert await searched.names("трудовой") == [name]
    assert await searched.names(unicodedata.normalize("NFD", "трудовой")) == [name]


async def test_no_text_is_too_long_for_the_index(searched: Searched) -> None:
    long = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(46))
    name = long[:1020] + ".txt"
    await searched.put(
        make_file("type", content_type=f"image/{long}"),
        make_file("family", content_type=long),
        make_file("tags", tags=[long, long[:-1] + "~", "short"]),
        make_file("attributes", attributes={long[:1000]: long[1000:]}),
        make_file("words", description=long, version=long),
        make_file("letters", description="Ⱥ" * 1000),
        make_file("place", namespace=long, created_by=long),
        make_file(name),
    )
    for filters, expected in (
        (Filters(content_types=[f"image/{long}"]), ["type"]),
        (Filters(content_types=[f"image/{long}~"]), []),
        (Filters(content_types=["image/*"]), ["type"]),
        (Filters(tags=[long, "short"]), ["tags"]),
        (Filters(tags=[long + "~"]), []),
        (Filters(attributes={long[:1000]: long[1000:]}), ["attributes"]),
        (Filters(namespaces=[long], created_by=[long]), ["place"]),
        (Filters(namespaces=[long[:-1]]), []),
    ):
        assert await searched.names(filters=filters) == expected
    assert (await searched.names(order="original_filename"))[0] == name


async def test_tombstones_and_foreign_namespaces_are_not_found(searched: Searched) -> None:
    gone = make_file("gone.txt", state=FileState.FILE_STATE_DELETED)
    await searched.put(gone, make_file("secret.txt", namespace="hr"), make_file("open.txt"))
    assert await searched.names("txt", readable=frozenset({"default"})) == ["open.txt"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(storage_element_ids=["se-02"]), []),
        (Filters(storage_element_ids=["se-01", "se-02"], created_by=["bob"]), ["b.jpg"]),
        (Filters(namespaces=["hr"]), ["b.jpg"]),
        (Filters(created_by=["bob"]), ["b.jpg"]),
        (Filters(content_types=["image/*"]), ["b.jpg"]),
        (Filters(content_types=["ima/*", "i*"]), []),
        (Filters(content_types=["application/pdf"]), ["a.PDF"]),
        (Filters(content_types=["application/pdf", "image/*"], tags=["y"]), ["a.PDF"]),
        (Filters(extensions=[".pdf"]), ["a.PDF"]),
        (Filters(tags=["x", "y"]), ["a.PDF"]),
        (Filters(min_size_bytes=10), ["b.jpg"]),
        (Filters(max_size_bytes=9), ["a.PDF"]),
        (Filters(created_after_at=START + 2 * DAY), ["b.jpg"]),
        (Filters(created_before_at=START + 2 * DAY), ["a.PDF"]),
        (Filters(updated_after_at=START + 3 * DAY), ["b.jpg"]),
        (Filters(updated_before_at=START + 3 * DAY), ["a.PDF"]),
        (Filters(expires_before_at=START + 30 * DAY), []),
        (Filters(expires_before_at=START + 31 * DAY), ["a.PDF"]),
        (Filters(retention_policies=["permanent"]), ["b.jpg"]),
        (Filters(attributes={"k": "v"}), ["b.jpg"]),
        (Filters(attributes={"k": "other"}), []),
    ],
)
async def test_each_filter_narrows_the_result(
    searched: Searched, filters: Filters, expected: Sequence[str]
) -> None:
    await searched.put(
        make_file(
            "a.PDF",
            tags=["x", "y"],
            size_bytes=1,
            created_at=START,
            updated_at=START,
            expires_at=START + 30 * DAY,
        ),
        make_file(
            "b.jpg",
            content_type="image/jpeg",
            created_by="bob",
            namespace="hr",
            tags=["x"],
            size_bytes=10,
            created_at=START + 2 * DAY,
            updated_at=START + 3 * DAY,
            retention_policy=RetentionPolicy.RETENTION_POLICY_PERMANENT,
            attributes={"k": "v"},
        ),
    )
    assert await searched.names(filters=filters) == list(expected)


async def every_page(searched: Searched, search: SearchQuery) -> list[str]:
    """Names of the files of all pages, in order."""
    found: list[str] = []
    while True:
        page = await searched.index.search(search)
        found += [hit.row["original_filename"] for hit in page.hits]
        if not page.next_page_token:
            return found
        search = replace(search, page_token=page.next_page_token)


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


WHOLE_NAMES = (
    "a.txt",
    "---",
    "!!!.()",
    "🎉👨‍👩‍👧.jpg",
    "हिन्दी दस्तावेज़.pdf",
    "x\u0302y\u0302.txt",
    "שָׁלוֹם עוֹלָם.txt",
    "ไฟล์.pdf",
    "Screenshot at 9.41.10\u202fAM.png",
    "  both ends . ",
    "'\"`$(rm)%20;&|*?[x].sh",
    "1️⃣.txt",
    "_",
)


@pytest.mark.parametrize("order", ["", "created_at", "original_filename"])
async def test_a_whole_name_finds_its_file_first(searched: Searched, order: str) -> None:
    await searched.put(*map(make_file, WHOLE_NAMES))
    # Each word of the first name begins many other names.
    await searched.put(*(make_file(f"a{n} txt{n}.txt.a.txt") for n in range(60)))
    for name in WHOLE_NAMES:
        found = await searched.names(name, order, page_size=1 if not order else 1000)
        assert name in found, name


async def test_a_whole_name_is_found_in_another_form_or_case(searched: Searched) -> None:
    await searched.put(make_file("cafe\u0301 x\u0302.TXT"), make_file("RÉSUMÉ.pdf"))
    assert await searched.names("café x\u0302.txt") == ["cafe\u0301 x\u0302.TXT"]
    assert await searched.names("re\u0301sume\u0301.PDF") == ["RÉSUMÉ.pdf"]


async def test_pages_of_a_whole_name_have_each_match_once(searched: Searched) -> None:
    same = [make_file("a.txt") for _ in range(30)]
    await searched.put(*same, *(make_file(f"a.txt {n}") for n in range(30)))
    found: list[str] = []
    token, total = "", 0
    while token or not found:
        page = await searched.search("a.txt", page_size=7, page_token=token)
        found += [hit.row["file_id"] for hit in page.hits]
        token, total = page.next_page_token, page.total
    assert len(found) == len(set(found)) == total == 60
    assert set(found[:7]) <= {file.file_id for file in same}


async def test_a_whole_name_of_a_namespace_that_is_not_readable_is_not_found(
    searched: Searched,
) -> None:
    await searched.put(make_file("---", namespace="hr"))
    assert await searched.names("---", readable=frozenset({"default"})) == []


async def test_a_content_type_is_found_whatever_its_case_and_parameters(
    searched: Searched,
) -> None:
    kinds = ("TEXT/HTML; charset=x", "text/html;charset=utf-8", "text/html", "Text/HTML ", "foo")
    await searched.put(*(make_file(kind, content_type=kind) for kind in kinds))
    for asked in ("text/html", "Text/HTML; charset=koi8-r", "TEXT/*"):
        found = await searched.names(filters=Filters(content_types=[asked]))
        assert sorted(found) == sorted(kinds[:4]), asked
    page = await searched.search(filters=Filters(content_types=["text/html"]))
    assert dict(page.facets["content_type"]) == {"text/html": 4}
    assert await searched.names(filters=Filters(content_types=["FOO"])) == ["foo"]


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
    assert page.facets["storage_element_id"] == [("se-01", 2)]
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


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        ("gz", ["a.Tar.gz", "a.log.gz"]),
        ("tar.gz", ["a.Tar.gz"]),
        (".TAR.GZ", ["a.Tar.gz"]),
        ("ar.gz", []),
        ("tar", []),
    ],
)
async def test_an_extension_may_be_a_full_one(
    searched: Searched, extension: str, expected: list[str]
) -> None:
    await searched.put(*map(make_file, ("a.Tar.gz", "a.log.gz", "b.pdf")))
    filters = Filters(extensions=[extension])
    assert sorted(await searched.names(filters=filters)) == expected
    both = Filters(extensions=[extension, "pdf"])
    assert sorted(await searched.names(filters=both)) == [*expected, "b.pdf"]
