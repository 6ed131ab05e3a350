"""The SQL of a search: a page of rows by column, by rank or by likeness, and the count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from unicodedata import normalize

from mesh.follower.rows import COLUMNS
from query_server.search import filters
from query_server.search.filters import Conditions
from query_server.search.paging import MAX_NAMESAKES, Position
from query_server.search.request import Order, SearchQuery
from query_server.search.table import KEY_CHARACTERS, TABLE
from query_server.search.terms import tsquery

MATCHES_CAP = 10_000
# How many files match is guessed from so many of the newest. All matches of a search are looked at
# if they seem to be no more than FEW_MATCHES; of others those among the WALKED_ROWS newest files,
# in the order of an index on time, and of them RANKED are compared for relevance.
PROBED_ROWS = 1_000
FEW_MATCHES = 5_000
WALKED_ROWS = 40_000
RANKED = 1_000
FACET_VALUES = 20
# Names that resemble a text: so many are compared, and so many of the closest are answered.
SIMILAR_COMPARED = 5_000
SIMILAR_CAP = 200
# Of the files with one name so many are looked at for those that pass the filters.
NAMESAKES_LOOKED_AT = 1_000

_SORT = {
    Order.CREATED_AT: "created_at",
    Order.UPDATED_AT: "updated_at",
    Order.SIZE: "size_bytes",
    Order.NAME: f"left(lower(original_filename), {KEY_CHARACTERS})",
}
_NAMES = [name for name in COLUMNS if name not in ("epoch", "digest")]
_SELECT = ", ".join(_NAMES)
_FROM_TABLE = ", ".join(f"t.{name}" for name in _NAMES)

# Of the rows `matches`.
_COUNTED = (
    "(SELECT count(*) FROM matches) AS total, jsonb_build_object("
    + ", ".join(
        f"""'{field}', (SELECT jsonb_agg(jsonb_build_array(value, files)) FROM (
            SELECT {value} AS value, count(*) AS files FROM matches{more}
            GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {FACET_VALUES}) counted)"""
        for field, value, more in (
            ("content_type", "media_type", ""),
            ("storage_element_id", "storage_element_id", ""),
            ("tag", "tag", ", unnest(tags) tag"),
        )
    )
    + ")::text AS facets"
)

# SQL and its parameters.
Statement = tuple[str, Sequence[object]]


def _conditions(
    query: SearchQuery, words: Sequence[str], *, namesakes: bool = True
) -> tuple[Conditions, str]:
    """The conditions of a query, and the SQL of its tsquery ('' without words).

    Args:
        namesakes: they match; else they do not, whatever their words.
    """
    conditions = Conditions()
    wanted = ""
    either = []
    if words:
        wanted, parameters = tsquery(words, 1)
        conditions.parameters.extend(parameters)
        either.append(f"search_vector @@ ({wanted})")
    if query.namesakes and namesakes:
        either.append(_is_namesake(conditions, query))
    elif query.namesakes:
        conditions.clauses.append(f"NOT {_is_namesake(conditions, query)}")
    if either:
        conditions.clauses.append(f"({' OR '.join(either)})")
    filters.apply(conditions, query.filters, query.readable)
    return conditions, wanted


def _is_namesake(conditions: Conditions, query: SearchQuery) -> str:
    return f"file_id = ANY({conditions.parameter(list(query.namesakes))}::text[])"


def _rank(conditions: Conditions, query: SearchQuery, wanted: str) -> str:
    """SQL of the relevance: at most 1 by words, and 1 more for a file of that name."""
    terms = [f"ts_rank(search_vector, {wanted})"] if wanted else []
    if query.namesakes:
        terms.append(f"({_is_namesake(conditions, query)})::int")
    return f"({' + '.join(terms)})::float8"


def namesakes(query: SearchQuery) -> Statement:
    """Rows with `file_id` of files whose whole name is the text, in another case or form too:
    at most MAX_NAMESAKES, those of the very same name first, then the newest.
    """
    conditions = Conditions()
    given = conditions.parameter(query.whole)
    names = dict.fromkeys(
        (query.whole, query.text, *(normalize(form, query.whole) for form in ("NFC", "NFD")))
    )
    asked = conditions.parameter(list(names))
    filters.apply(conditions, query.filters, query.readable)
    # By the index on names, whose order is that of the ids, so that a name that a million files
    # have costs no more than another one. `=` would lead the planner to that of trigrams, in
    # which all names with the same pieces are read.
    key = f"left(lower(original_filename), {KEY_CHARACTERS})"
    return (
        f"""
        SELECT file_id FROM unnest({asked}::text[]) name CROSS JOIN LATERAL (
            SELECT * FROM {TABLE}
            WHERE state = 'active' AND {key} = left(lower(name), {KEY_CHARACTERS})
              AND lower(original_filename) IS NOT DISTINCT FROM lower(name)
              AND length(file_id) <= 64
            ORDER BY {key} DESC, file_id DESC LIMIT {NAMESAKES_LOOKED_AT}) {TABLE}
        WHERE {conditions.sql}
        GROUP BY file_id ORDER BY bool_or(original_filename = {given}) DESC, file_id DESC
        LIMIT {MAX_NAMESAKES}
        """,
        conditions.parameters,
    )


def probe(query: SearchQuery, words: Sequence[str]) -> Statement:
    """One row: `matched`, how many of the PROBED_ROWS newest files match, and about how many
    `files` there are, none if that is not known.
    """
    conditions, _ = _conditions(query, words)
    return (
        f"""
        SELECT count(*) AS matched, (SELECT greatest(reltuples, 0)::bigint FROM pg_class
                                     WHERE oid = '{TABLE}'::regclass) AS files
        FROM ({_newest(PROBED_ROWS)}) {TABLE} WHERE {conditions.sql}
        """,
        conditions.parameters,
    )


def count(query: SearchQuery, words: Sequence[str], *, few: bool) -> Statement:
    """One row: `total`, the number of matches, cut beyond the cap, and their `facets`.

    Args:
        few: find all matches, not only those among the newest files.
    """
    conditions, _ = _conditions(query, words)
    return (
        f"""
        WITH matches AS MATERIALIZED (
            SELECT media_type, storage_element_id, tags FROM {_source(few=few)}
            WHERE {conditions.sql} LIMIT {MATCHES_CAP + 1})
        SELECT {_COUNTED}
        """,
        conditions.parameters,
    )


def first_page(query: SearchQuery, words: Sequence[str], *, few: bool) -> Statement:
    """`count` and the first page in one, for two would find the same matches twice.

    The rows are those of `by_column` or `by_rank`, each with the columns of `count`. With `few`
    they are the first page only if `total` is within the cap. Without it the order must be
    relevance; `newest_at`, `oldest_at` and `oldest_id` bound what was ranked.
    """
    conditions, wanted = _conditions(query, words)
    direction = "DESC" if query.descending else "ASC"
    score, keys = "0::float8", [_SORT.get(query.order, ""), "file_id"]
    if query.order is Order.RELEVANCE:
        direction, score = "DESC", "page.key_0"
        keys = [_rank(conditions, query, wanted), "created_at", "file_id"]
    source = _source(few=few)
    if not few and query.namesakes:
        source = _with_namesakes(_newest(WALKED_ROWS), conditions, query)
    names = [f"key_{number}" for number in range(len(keys))]
    keyed = ", ".join(f"{key} AS {name}" for key, name in zip(keys, names, strict=True))
    order = ", ".join(f"{name} {direction}" for name in names)
    walked = f"NOT {_is_namesake(conditions, query)}" if query.namesakes else "true"
    oldest = ", ".join(
        f"coalesce((SELECT {column} FROM matches WHERE number <= {RANKED} AND {walked}"
        f" ORDER BY number DESC LIMIT 1), {beyond}) AS {name}"
        for column, name, beyond in (
            ("created_at", "oldest_at", "'9999-01-01 00:00:00+00'"),
            ("file_id", "oldest_id", "''"),
        )
    )
    return (
        f"""
        WITH matches AS MATERIALIZED (
            SELECT *, row_number() OVER () AS number FROM (
                SELECT file_id, storage_element_id, media_type, tags, created_at, {keyed}
                FROM {source} WHERE {conditions.sql}
                LIMIT {MATCHES_CAP + 1}) found),
        page AS (
            SELECT * FROM matches WHERE number <= {MATCHES_CAP if few else RANKED}
            ORDER BY {order} LIMIT {query.page_size + 1})
        SELECT {_FROM_TABLE}, {score} AS score, {", ".join(f"page.{name}" for name in names)},
               (SELECT max(created_at) FROM matches) AS newest_at, {oldest}, {_COUNTED}
        FROM page JOIN {TABLE} t USING (file_id, storage_element_id)
        ORDER BY {order}
        """,
        conditions.parameters,
    )


def _with_namesakes(walked: str, conditions: Conditions, query: SearchQuery) -> str:
    """The rows of `walked` after those of the namesakes, which may be older."""
    namesake = _is_namesake(conditions, query)
    return (
        f"(SELECT * FROM {TABLE} WHERE state = 'active' AND {namesake} UNION ALL"
        f" (SELECT * FROM ({walked}) {TABLE} WHERE NOT {namesake})) {TABLE}"
    )


def _source(*, few: bool) -> str:
    return TABLE if few else f"({_newest(WALKED_ROWS)}) {TABLE}"


def _newest(rows: int, among: str = "true") -> str:
    return (
        f"SELECT * FROM {TABLE} WHERE state = 'active' AND {among}"
        f" ORDER BY created_at DESC, file_id DESC LIMIT {rows}"
    )


def by_column(
    query: SearchQuery,
    words: Sequence[str],
    position: Position | None,
    *,
    few: bool,
    namesakes: bool = True,
) -> Statement:
    """One row more than the page has, if there are that many, in the order of a column.

    Args:
        few: there are no more matches than the cap: all of them are found and then sorted,
            since to look for them along the order could take the whole table.
        namesakes: take the files of that name too; else leave them out.
    """
    conditions, _ = _conditions(query, words, namesakes=namesakes)
    column = _SORT[query.order]
    sign, direction = ("<", "DESC") if query.descending else (">", "ASC")
    order = f"ORDER BY key_0 {direction}, key_1 {direction} LIMIT {query.page_size + 1}"
    after = "true"
    if position is not None:
        value, file_id = map(conditions.parameter, position.key)
        after = f"({'key_0' if few else column}, file_id) {sign} ({value}, {file_id})"
    if not few:
        return (
            f"""
            SELECT {_SELECT}, 0::float8 AS score, {column} AS key_0, file_id AS key_1
            FROM {TABLE} WHERE {conditions.sql} AND {after}
            {order}
            """,
            conditions.parameters,
        )
    return (
        f"""
        WITH matches AS MATERIALIZED (
            SELECT file_id, storage_element_id, {column} AS key_0, file_id AS key_1
            FROM {TABLE} WHERE {conditions.sql}),
        page AS (SELECT * FROM matches WHERE {after} {order})
        SELECT {_FROM_TABLE}, 0::float8 AS score, page.key_0, page.key_1
        FROM page JOIN {TABLE} t USING (file_id, storage_element_id)
        {order}
        """,
        conditions.parameters,
    )


def by_rank(query: SearchQuery, words: Sequence[str], position: Position) -> Statement:
    """As `by_column`, in the order of relevance among what the first page ranked."""
    conditions, wanted = _conditions(query, words)
    source = TABLE
    if position.newest is not None and position.oldest is None:
        conditions.add("created_at <= {}", position.newest)
    elif position.newest is not None and position.oldest is not None:
        newest, at, file_id = map(conditions.parameter, (position.newest, *position.oldest))
        # As many as were walked, and those that were taken back since; the limit keeps the walk.
        walked = _newest(
            2 * WALKED_ROWS,
            f"created_at <= {newest} AND (created_at, file_id) >= ({at}, {file_id})",
        )
        source = f"({walked}) {TABLE}"
        if query.namesakes:
            source = _with_namesakes(walked, conditions, query)
    inner = f"""
        SELECT file_id, storage_element_id, created_at,
               {_rank(conditions, query, wanted)} AS score
        FROM {source} WHERE {conditions.sql}"""
    return _ranked(conditions, inner, query.page_size, position)


def older(
    query: SearchQuery, words: Sequence[str], key: Sequence[object], *, limit: int
) -> Statement:
    """As `by_column`, the matches before (created_at, file_id), newest first: what comes after
    all that were ranked.
    """
    by_time = replace(query, order=Order.CREATED_AT, descending=True, page_size=limit - 1)
    position = Position(key, 0, exact=False, fuzzy=False)
    return by_column(by_time, words, position, few=False, namesakes=False)


def by_likeness(query: SearchQuery, text: str, position: Position | None) -> Statement:
    """As `by_column`, names that resemble `text`, the closest first."""
    conditions = Conditions()
    wanted = conditions.parameter(text)
    filters.apply(conditions, query.filters, query.readable)
    score = f"word_similarity({wanted}, lower(original_filename))::float8"
    inner = f"""
        SELECT * FROM (
            SELECT file_id, storage_element_id, created_at, {score} AS score
            FROM {TABLE} WHERE {conditions.sql} AND {wanted} <% lower(original_filename)
            LIMIT {SIMILAR_COMPARED}) compared
        ORDER BY score DESC, created_at DESC, file_id DESC LIMIT {SIMILAR_CAP}"""
    return _ranked(conditions, inner, query.page_size, position)


def _ranked(
    conditions: Conditions, inner: str, page_size: int, position: Position | None
) -> Statement:
    after = "true"
    if position is not None:
        placeholders = ", ".join(conditions.parameter(part) for part in position.key)
        after = f"(score, created_at, file_id) < ({placeholders})"
    return (
        f"""
        WITH ranked AS MATERIALIZED ({inner}),
        page AS (
            SELECT * FROM ranked WHERE {after}
            ORDER BY score DESC, created_at DESC, file_id DESC LIMIT {page_size + 1})
        SELECT {_FROM_TABLE}, page.score,
               page.score AS key_0, page.created_at AS key_1, page.file_id AS key_2,
               (SELECT count(*) FROM ranked) AS ranked
        FROM page JOIN {TABLE} t USING (file_id, storage_element_id)
        ORDER BY page.score DESC, page.created_at DESC, page.file_id DESC
        """,
        conditions.parameters,
    )
