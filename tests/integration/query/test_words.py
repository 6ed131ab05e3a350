"""What people type finds what they mean, in every script: the table of `words.py` and any text."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query_server.search import statements
from query_server.search.highlight import MARKS, START, STOP
from query_server.search.request import MAX_QUERY_BYTES
from query_server.search.statements import Search
from query_server.search.table import TABLE as TABLE_NAME
from query_server.search.terms import Terms
from tests.integration.query.searching import START as BEGIN
from tests.integration.query.searching import Searched, make_file, query
from tests.integration.query.words import Named, names

TABLE = list(names())
# One plain search for each would take half a minute.
AT_ONCE = 8


async def cut(searched: Searched, text: str) -> Terms:
    """A query as the index cuts it."""
    sql, parameters = statements.asked(query(text), names=False)
    (row,) = await searched.database.fetch(sql, *parameters)
    return Terms.of(orjson.loads(row["words"]))


async def matches(searched: Searched, name: str, asked: Sequence[str]) -> list[bool]:
    """Whether a file of this name is found by each of the texts, and marked where it matches."""
    terms = [await cut(searched, text) for text in asked]
    rows = await searched.database.fetch(
        "SELECT artstore_vector($1, '', '', '{}', '{}') @@ wanted::tsquery AS found"
        " FROM unnest($2::text[]) WITH ORDINALITY one(wanted, at) ORDER BY at",
        name,
        [one.matching for one in terms],
    )
    for text, one, row in zip(asked, terms, rows, strict=True):
        if row["found"]:
            composed = unicodedata.normalize("NFC", name)
            (marks,) = await searched.database.fetch(
                MARKS, [composed], one.marking, one.letters, None, 240
            )
            assert marks["marks"], (name, text)
    return [row["found"] for row in rows]


def test_the_table_is_large() -> None:
    assert len({one.language for one in TABLE}) >= 25
    assert sum(len(one.found_by) + len(one.not_by) for one in TABLE) >= 300


async def test_every_form_of_the_table_finds_its_name(searched: Searched) -> None:
    for one in TABLE:
        asked = [*one.found_by, *one.not_by]
        expected = [True] * len(one.found_by) + [False] * len(one.not_by)
        assert await matches(searched, one.name, asked) == expected, (one, asked)


async def test_every_name_is_found_first_by_itself_in_any_case_and_without_accents(
    searched: Searched,
) -> None:
    await searched.put(*(make_file(one.name) for one in TABLE))
    # Newer, and each of its words is in the name of another.
    await searched.put(
        *(make_file(f"{one.name} copy", created_at=BEGIN + timedelta(days=1)) for one in TABLE)
    )
    busy = asyncio.Semaphore(AT_ONCE)

    async def first(one: Named, text: str) -> tuple[str, str]:
        async with busy:
            return text, (await searched.names(text, page_size=1) or [""])[0]

    forms = [
        (one, text)
        for one in TABLE
        for text in dict.fromkeys(
            (one.name, one.name.upper(), one.name.lower(), unicodedata.normalize("NFD", one.name))
        )
    ]
    found = await asyncio.gather(*(first(*form) for form in forms))
    wrong = [
        (text, name) for (one, _), (text, name) in zip(forms, found, strict=True)
        if name != one.name
    ]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resume", ["resume a", "résumé b", "resumes c", "resumept d"]),
        ("résumé", ["résumé b", "resume a", "resumes c", "resumept d"]),
    ],
)
async def test_the_exact_form_comes_before_the_folded_before_others_before_a_part(
    searched: Searched, text: str, expected: list[str]
) -> None:
    # The better, the older.
    for day, name in enumerate(("resume a", "résumé b", "resumes c", "resumept d")):
        await searched.put(make_file(name, created_at=BEGIN + timedelta(days=day)))
    assert await searched.names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("résumé", ["résumé", "re\u0301sume\u0301", "RÉSUMÉ", "resume", "résumé 2", "resumes"]),
        ("Straße", ["Straße", "STRAẞE", "Strasse", "Straße 2", "Strasse 2", "Straßen"]),
        ("STRASSE", ["STRASSE", "Strasse", "Straße", "strasse 2", "Straße 2"]),
        ("ﬁle", ["ﬁle", "FILE", "a ﬁle", "a file"]),
        ("Maße", ["Die Maße.pdf", "Die Masse.pdf", "Maßeinheit"]),
        ("Masse", ["Die Masse.pdf", "Die MAßE.pdf", "Massen"]),
        ("Σίσυφος", ["Σίσυφος", "ΣΊΣΥΦΟΣ", "ΣΙΣΥΦΟΣ", "Σίσυφος 2", "Σισυφος 2"]),
        ("Երևան", ["Երևան", "ԵՐԵՎԱՆ", "Երևան 2", "ԵՐԵՎԱՆ 2"]),
        ("a\u0001b", ["a\u0001b", "A\u0001B", "a b c"]),
        ("co\u00adop", ["co\u00adop", "coop", "Coop", "cöop"]),
    ],
)
async def test_what_was_typed_comes_before_another_case_before_a_folded_form(
    searched: Searched, text: str, expected: list[str]
) -> None:
    # The better, the older.
    for day, name in enumerate(expected):
        await searched.put(make_file(name, created_at=BEGIN + timedelta(days=day)))
    assert await searched.names(text) == expected
    pages: list[str] = []
    page = await searched.search(text, page_size=1)
    while True:
        pages += [hit.row["original_filename"] for hit in page.hits]
        if not page.next_page_token:
            break
        page = await searched.search(text, page_size=1, page_token=page.next_page_token)
    assert pages == expected


async def test_name_comes_before_tags_before_description_and_the_newest_among_equals(
    searched: Searched,
) -> None:
    files: tuple[dict[str, Any], ...] = (
        {"name": "budget"},
        {"tags": ["budget"]},
        {"description": "budget " * 9},
        {"attributes": {"k": "budget"}},
        {"description": "budgets"},
        {"name": "QBudgetX"},
    )
    for day, fields in enumerate(files):
        said = {"name": "x", **fields}
        name = f"{said.pop('name')} {day}"
        await searched.put(make_file(name, created_at=BEGIN + timedelta(days=day), **said))
    await searched.put(make_file("budget 6", created_at=BEGIN + timedelta(days=6)))
    assert await searched.names("budget") == [
        "budget 6", "budget 0", "x 1", "x 2", "x 3", "x 4", "QBudgetX 5"
    ]  # fmt: skip


async def test_names_sort_without_accents_and_numbers_by_value(searched: Searched) -> None:
    expected = ["file2", "File9", "file10", "file010a", f"file{'9' * 30}",
                f"file1{'0' * 30}", "Résumé", "resumf", "ёж 2.txt",
                "ЁЖ 10.txt", "Еж.txt", "еле.txt"]  # fmt: skip
    await searched.put(*map(make_file, expected[::-1]))
    assert await searched.names(order="original_filename") == expected
    assert await searched.names(order="original_filename desc") == expected[::-1]


# All but surrogates.
_KINDS: tuple[Literal["L", "M", "N", "P", "S", "Z", "Cc", "Cf", "Co", "Cn"], ...] = (
    "L", "M", "N", "P", "S", "Z", "Cc", "Cf", "Co", "Cn"
)  # fmt: skip
TEXTS = st.text(
    st.characters(categories=_KINDS, exclude_characters="\0"), max_size=60
) | st.sampled_from([one.name for one in TABLE])
FOUND = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


async def test_any_text_is_found_by_each_of_its_words_wherever_it_stands(
    searched: Searched,
) -> None:
    @FOUND
    @given(st.lists(TEXTS, min_size=5, max_size=5))
    def check(texts: list[str]) -> None:
        asyncio.run_coroutine_threadsafe(found_by_its_words(searched, texts), loop).result()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(check)


async def found_by_its_words(searched: Searched, texts: list[str]) -> None:
    name, tag, description, key, value = texts
    database = searched.database
    vector = await database.fetchval(
        "SELECT artstore_vector($1, $2, '', $3, jsonb_build_object($4::text, $5::text)) AS words",
        name, description, [tag], key, value,
    )  # fmt: skip
    for text in texts:
        words = await database.fetchval("SELECT artstore_cut($1)", text)
        plain = [word.lstrip("~.-") for word in words]
        for word in plain:
            terms = await cut(searched, word)
            assert terms, (text, word)
            assert await database.fetchval(
                "SELECT $1::text::tsvector @@ $2::text::tsquery", vector, terms.matching
            ), (text, word, terms.matching, vector)


async def test_marking_never_changes_a_text_and_no_query_is_an_error(searched: Searched) -> None:
    @FOUND
    @given(TEXTS, TEXTS)
    def check(text: str, asked: str) -> None:
        asyncio.run_coroutine_threadsafe(marked(searched, text, asked), loop).result()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(check)


async def marked(searched: Searched, text: str, asked: str) -> None:
    file = make_file("x", file_id="00000000-0000-7000-8000-000000000000")
    plain = text.replace(START, "").replace(STOP, "")
    file.description, file.original_filename = plain, plain or "x"
    file.tags.append(plain)
    file.attributes["note"] = plain
    await searched.put(file)
    for words in (asked, plain, plain[:7]):
        for order in ("", "original_filename"):
            for hit in (await searched.search(words[: MAX_QUERY_BYTES // 4], order)).hits:
                for field, shown in hit.highlights.items():
                    said = shown.replace(START, "").replace(STOP, "")
                    assert said == (plain or "x"), field
                    assert START in shown


async def test_a_row_is_cut_without_a_search_path_as_in_a_restore(searched: Searched) -> None:
    name = "SalesQ3 Ёлка été 合同2.pdf"
    await searched.put(make_file(name))
    connection = await asyncpg.connect(searched.database.url)
    try:
        await connection.execute("SET search_path = ''")
        await connection.execute(f"UPDATE public.{TABLE_NAME} SET description = 'restored'")
    finally:
        await connection.close()
    assert await searched.names("restored q3") == [name]


async def test_a_query_that_is_cut_says_nothing_else(searched: Searched) -> None:
    """No operator of tsquery comes from outside."""
    for text in ("a:*|b", "'a' & !b", "x\\'y:*", "~a .b -c", "$1", "{0}", "%s"):
        search = Search(query(text), await cut(searched, text))
        for word in search.terms.words:
            assert word.word.isalnum(), word
