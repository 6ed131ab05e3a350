"""Searches of a large index read little of it, however often they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson
import pytest
import pytest_asyncio

from query_server.search import statements
from query_server.search.paging import Position
from query_server.search.request import Filters, Order, SearchQuery
from query_server.search.statements import Search, Statement
from query_server.search.strategies import (
    All,
    AlongColumn,
    Asking,
    FirstPage,
    Likeness,
    NewestRanked,
    Rows,
)
from query_server.search.table import TABLE
from query_server.search.terms import Terms
from tests.integration.query.corpus import EXPIRES_BEFORE, fill
from tests.integration.query.searching import Searched, make_file, query, searched_index
from tests.support.services import PostgresProcess

# To make the rows takes a while where the machine is busy.
pytestmark = pytest.mark.timeout(600)

ROWS = 100_000
FULL_ROWS = 1_000_000
NOW = datetime.now(UTC)
GUESS = (
    f"files <= {statements.WALKED_ROWS}"
    f" OR matched * files <= {statements.FEW_MATCHES * statements.PROBED_ROWS}"
)
# Sort values of a row in each order by a column.
KEYS: Mapping[Order, tuple[Any]] = {
    Order.CREATED_AT: (NOW,),
    Order.UPDATED_AT: (NOW,),
    Order.NAME: ("report",),
    Order.SIZE: (10_000,),
}
# Each is true of one active row in 5,000.
RARE: Mapping[str, tuple[str, Filters]] = {
    "word": ("quasar", Filters()),
    "prefix": ("quas", Filters()),
    "element": ("", Filters(storage_element_ids=["se-09"])),
    "namespace": ("", Filters(namespaces=["hr"])),
    "account": ("", Filters(created_by=["carol"])),
    "content type": ("", Filters(content_types=["image/vnd.dwg"])),
    "family": ("", Filters(content_types=["image/*"])),
    "extension": ("", Filters(extensions=["dwg"])),
    "tag": ("", Filters(tags=["urgent"])),
    "size": ("", Filters(min_size_bytes=10**10)),
    "policy": ("", Filters(retention_policies=["permanent"])),
    "expiry": ("", Filters(expires_before_at=EXPIRES_BEFORE)),
    "attribute": ("", Filters(attributes={"case": "closed"})),
    "common word and rare tag": ("invoice", Filters(tags=["urgent"])),
    "common filters and rare word": (
        "quasar",
        Filters(retention_policies=["temporary"], namespaces=["default"]),
    ),
}
COMMON: Mapping[str, tuple[str, Filters]] = {
    "everything": ("", Filters()),
    "common word": ("report", Filters()),
    "common prefix": ("rep", Filters()),
    "two words": ("invoice budget", Filters()),
    "word in 100": ("audit", Filters()),
    "number": ("77777", Filters()),
    "common tag": ("", Filters(tags=["year-2021"])),
    "common family": ("report", Filters(content_types=["application/*"])),
    "account": ("", Filters(created_by=["user-7"])),
    "attribute": ("", Filters(attributes={"team": "team-3"})),
    "restricted reader": ("report", Filters()),
}


@pytest.fixture(
    scope="module",
    params=[ROWS, pytest.param(FULL_ROWS, marks=[pytest.mark.full, pytest.mark.timeout(3600)])],
)
def corpus(request: pytest.FixtureRequest, postgres: PostgresProcess) -> Iterator[tuple[str, int]]:
    """URI of a database, and how many rows the index in it gets."""
    url = postgres.create_database()
    yield url, request.param
    postgres.drop_database(url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(corpus: tuple[str, int]) -> AsyncIterator[Searched]:
    """An index of so many rows."""
    url, rows = corpus
    async with searched_index(url) as index:
        await fill(url, rows)
        yield index


def searches(named: Mapping[str, tuple[str, Filters]]) -> Iterator[SearchQuery]:
    """Each of them in each order that it can have."""
    for name, (text, filters) in named.items():
        readable = frozenset({"default"}) if name == "restricted reader" else None
        for order in Order:
            if text or order is not Order.RELEVANCE:
                by = f"{order.value} desc"
                yield query(text, by, filters=filters, readable=readable)


Way = TypeVar("Way", bound=Asking)


def strategy(kind: type[Way], search: Search) -> Way:
    """One that only tells its statements."""
    return kind(search, nothing)


async def nothing(statement: Statement) -> Rows:
    raise AssertionError(statement)


async def cut(searched: Searched, asked: SearchQuery) -> Search:
    """A query as the index cuts it."""
    sql, parameters = statements.asked(asked, names=False)
    (row,) = await searched.database.fetch(sql, *parameters)
    return Search(asked, Terms.of(orjson.loads(row["words"])))


def statements_of(search: Search, *, few: bool) -> list[Statement]:
    first = strategy(FirstPage, search)
    found = [first.statement(GUESS), first.statement("true" if few else "false")]
    order = search.query.order
    ranked = order is Order.RELEVANCE
    file_id = "0" * 36
    key = (1.0, NOW, file_id) if ranked else (*KEYS[order], file_id)
    position = Position(key, 0, exact=few, fuzzy=False, newest=NOW if ranked else None)
    if few:
        return [*found, strategy(All, search).page(position)]
    if ranked:
        newest = strategy(NewestRanked, search)
        position = replace(position, oldest=(NOW - timedelta(days=1), file_id))
        return [*found, newest.older((NOW, file_id), limit=11), newest.page(position)]
    return [*found, strategy(AlongColumn, search).page(position)]


async def plan(searched: Searched, statement: Statement, *, run: bool) -> dict[str, Any]:
    """The plan that PostgreSQL takes for it in a search's own connection."""
    sql, parameters = statement
    options = "ANALYZE, TIMING OFF, FORMAT JSON" if run else "FORMAT JSON"
    (row,) = await searched.database.fetch(f"EXPLAIN ({options}) {sql}", *parameters, timeout=60)
    (found,) = orjson.loads(row[0])
    return found["Plan"]  # type: ignore[no-any-return]


def nodes(top: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All nodes of a plan."""
    yield top
    for below in top.get("Plans", ()):
        yield from nodes(below)


def rows_read(top: Mapping[str, Any]) -> int:
    """Rows of the table that a plan fetched, those it threw away too."""
    return sum(
        int(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
             + node.get("Rows Removed by Index Recheck", 0)) * node["Actual Loops"]
        )
        for node in nodes(top)
        if node.get("Relation Name") == TABLE
    )  # fmt: skip


def assert_no_table_is_walked(top: Mapping[str, Any], what: object) -> None:
    kinds = {node["Node Type"] for node in nodes(top) if node.get("Relation Name") == TABLE}
    assert kinds, what
    assert "Seq Scan" not in kinds, what


async def test_few_matches_are_found_without_reading_the_rest(large: Searched) -> None:
    for search in searches(RARE):
        for statement in statements_of(await cut(large, search), few=True):
            top = await plan(large, statement, run=True)
            assert_no_table_is_walked(top, search)
            assert rows_read(top) < ROWS / 20, (search, top)


async def test_many_matches_are_read_by_an_index_up_to_the_cap(large: Searched) -> None:
    for search in searches(COMMON):
        for statement in statements_of(await cut(large, search), few=False):
            assert_no_table_is_walked(await plan(large, statement, run=False), search)


@pytest.mark.parametrize("name", ["common tag", "account", "attribute"])
async def test_a_common_word_and_a_common_filter_read_only_what_has_both(
    large: Searched, name: str
) -> None:
    search = await cut(large, query("report", filters=COMMON[name][1]))
    sql, parameters = first_page = strategy(FirstPage, search).statement("true")
    found = await large.database.fetch(sql, *parameters)
    total = found[0]["total"] if found else 0
    top = await plan(large, first_page, run=True)
    # Tombstones are read as well, and the rows of the page once more.
    assert rows_read(top) <= 1.2 * total + search.query.page_size + 1, top


async def test_plans_are_as_good_after_many_executions(large: Searched) -> None:
    # PostgreSQL changes to one plan for all values after five executions of a statement.
    search = await cut(large, query("", "created_at", filters=RARE["tag"][1]))
    sql, parameters = strategy(FirstPage, search).statement("true")
    async with large.database.connection() as connection:
        prepared = await connection.prepare(sql)
        for _ in range(8):
            found = await prepared.fetch(["year-2021"])
        top = (await prepared.explain(*parameters, analyze=True))[0]["Plan"]
        assert found
    assert_no_table_is_walked(top, sql)
    assert rows_read(top) < ROWS / 20, top


async def test_every_match_is_found(large: Searched, corpus: tuple[str, int]) -> None:
    rows = corpus[1]
    pages = await asyncio.gather(
        *(large.search(text, filters=filters) for text, filters in list(RARE.values())[:-2])
    )
    assert [(page.total, page.exact) for page in pages] == [(rows // 5000, True)] * len(pages)
    assert all(len(page.hits) == min(rows // 5000, 50) for page in pages)


async def test_beyond_10_000_matches_the_count_is_a_lower_bound(large: Searched) -> None:
    page = await large.search("report")
    assert (page.total, page.exact) == (10_000, False)
    assert sum(count for _, count in page.facets["storage_element_id"]) == 2_000
    assert not page.facets_exact


@pytest.mark.parametrize("order", ["", "created_at desc", "size_bytes"])
async def test_page_100_goes_on_where_page_99_ended(large: Searched, order: str) -> None:
    search = query("report", order, page_size=100)
    seen: list[Any] = []
    token = ""
    for _ in range(100):
        page = await large.search("report", order, page_size=100, page_token=token)
        seen += [hit.row for hit in page.hits]
        token = page.next_page_token
    assert len({row["file_id"] for row in seen}) == len(seen) == 10_000
    if order:
        values = [row[search.order.value] for row in seen]
        assert values == sorted(values, reverse=search.descending)
    assert token


async def test_a_typo_costs_a_bounded_number_of_comparisons(large: Searched) -> None:
    for text in ("quassar", "reprot", "zzzzzz", "invoise budjet"):
        search = await cut(large, query(text))
        page = await large.search(text)
        assert len(page.hits) == min(page.total, 50)
        top = await plan(large, strategy(Likeness, search).page(), run=True)
        assert_no_table_is_walked(top, text)
    assert "quasar" in (await large.names("quassar"))[0]


async def test_a_whole_name_comes_first_among_many_matches_however_old_it_is(
    large: Searched,
) -> None:
    old = make_file("report.pdf", created_at=datetime(2020, 1, 1, tzinfo=UTC))
    await large.put(old, *(make_file("budget.txt", created_at=NOW) for _ in range(300)))
    search = replace(await cut(large, query("report.pdf")), named=(old.file_id,))
    seen: list[str] = []
    token = ""
    for _ in range(11):
        page = await large.search("report.pdf", page_size=1000, page_token=token)
        seen += [hit.row["file_id"] for hit in page.hits]
        token = page.next_page_token
    assert seen[0] == old.file_id
    assert len(set(seen)) == len(seen) == 11_000
    for few in (True, False):
        for statement in statements_of(search, few=few):
            assert_no_table_is_walked(await plan(large, statement, run=False), statement[0])
    # A name costs the same however many files have it.
    top = await plan(large, statements.namesakes(query("budget.txt")), run=True)
    assert_no_table_is_walked(top, "namesakes")
    assert rows_read(top) <= 300
