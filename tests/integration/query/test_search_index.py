"""The search index on real PostgreSQL: what is found by which text."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from artstore.v1.types_pb2 import FileState, RetentionPolicy
from mesh.errors import InvalidArgument
from query_server.search.request import Filters
from tests.integration.query.searching import START, Searched, every_page, make_file, query

DAY = timedelta(days=1)
# Later than any day on which this runs.
ENDS = START + 36_500 * DAY
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
        (Filters(expires_before_at=ENDS), []),
        (Filters(expires_before_at=ENDS + DAY), ["a.PDF"]),
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
            expires_at=ENDS,
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


async def test_what_has_expired_is_in_no_page_count_or_facet_unless_it_is_held(
    searched: Searched,
) -> None:
    over = datetime.now(UTC) - timedelta(seconds=1)
    await searched.put(
        make_file("lost report.pdf", expires_at=over, tags=["t"], created_at=START),
        make_file(
            "held report.pdf", expires_at=over, tags=["t"], created_at=START, legal_hold=True
        ),
        make_file("kept report.pdf", expires_at=ENDS, tags=["t"], created_at=START),
        make_file("permanent report.pdf", tags=["t"], created_at=START),
    )
    # By a word, by nothing, by a name, and by what only resembles one.
    for text in ("report", "", "lost report.pdf", "reporx"):
        page = await searched.search(text)
        names = {hit.row["original_filename"] for hit in page.hits}
        assert "lost report.pdf" not in names
        assert page.total == len(names) == len(page.hits)
        if text in ("report", ""):
            assert page.facets["tag"] == [("t", 3)]
    assert set(await searched.names("", "original_filename")) == {
        "held report.pdf",
        "kept report.pdf",
        "permanent report.pdf",
    }
