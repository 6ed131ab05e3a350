"""The SQL that every search shares: what matches, how many there seem to be, a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

from mesh.follower.rows import COLUMNS
from query_server.search import filters
from query_server.search.filters import Conditions
from query_server.search.paging import MAX_NAMESAKES
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

COLUMN = {
    Order.CREATED_AT: "created_at",
    Order.UPDATED_AT: "updated_at",
    Order.SIZE: "size_bytes",
    Order.NAME: f"left(lower(original_filename), {KEY_CHARACTERS})",
}
_NAMES = [name for name in COLUMNS if name not in ("epoch", "digest")]
_SELECTED = ", ".join(_NAMES)
_FROM_TABLE = ", ".join(f"t.{name}" for name in _NAMES)

# Of a row that matches, and of all of these.
MATCHED = "file_id, storage_element_id, media_type, tags, created_at"
NEWEST_AT = "(SELECT max(created_at) FROM matches) AS newest_at"
COUNTED = (
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


def conditions_of(
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
        either.append(is_namesake(conditions, query))
    elif query.namesakes:
        conditions.clauses.append(f"NOT {is_namesake(conditions, query)}")
    if either:
        conditions.clauses.append(f"({' OR '.join(either)})")
    filters.apply(conditions, query.filters, query.readable)
    return conditions, wanted


def is_namesake(conditions: Conditions, query: SearchQuery) -> str:
    """SQL of whether a row is one of a file with that name."""
    return f"file_id = ANY({conditions.parameter(list(query.namesakes))}::text[])"


def rank(conditions: Conditions, query: SearchQuery, wanted: str) -> str:
    """SQL of the relevance: at most 1 by words, and 1 more for a file of that name."""
    terms = [f"ts_rank(search_vector, {wanted})"] if wanted else []
    if query.namesakes:
        terms.append(f"({is_namesake(conditions, query)})::int")
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
    conditions, _ = conditions_of(query, words)
    return (
        f"""
        SELECT count(*) AS matched, (SELECT greatest(reltuples, 0)::bigint FROM pg_class
                                     WHERE oid = '{TABLE}'::regclass) AS files
        FROM ({newest(PROBED_ROWS)}) {TABLE} WHERE {conditions.sql}
        """,
        conditions.parameters,
    )


def newest(rows: int, among: str = "true") -> str:
    """SQL of the newest files, newest first."""
    return (
        f"SELECT * FROM {TABLE} WHERE state = 'active' AND {among}"
        f" ORDER BY created_at DESC, file_id DESC LIMIT {rows}"
    )


@dataclass(frozen=True, slots=True)
class Keys:
    """What a page is sorted by.

    Attributes:
        columns: SQL of each value, file_id last; the rows have them as key_0, key_1 ...
        scored: the first one is the score.
    """

    columns: Sequence[str]
    descending: bool = True
    scored: bool = False

    @property
    def selected(self) -> str:
        """SQL of the keys of a row that matches."""
        return ", ".join(f"{column} AS key_{n}" for n, column in enumerate(self.columns))

    @property
    def names(self) -> Sequence[str]:
        """Their names in what was selected."""
        return [f"key_{n}" for n in range(len(self.columns))]

    @property
    def order(self) -> str:
        """SQL of the order."""
        return ", ".join(f"{name} {'DESC' if self.descending else 'ASC'}" for name in self.names)

    def after(self, conditions: Conditions, key: Sequence[object], *, selected: bool = True) -> str:
        """SQL of what comes after a key, in the order.

        Args:
            selected: of the keys that were selected; else of the table's rows.
        """
        left = ", ".join(self.names if selected else self.columns)
        right = ", ".join(map(conditions.parameter, key))
        return f"({left}) {'<' if self.descending else '>'} ({right})"


def page(
    conditions: Conditions,
    keys: Keys,
    matches: str,
    page_size: int,
    *,
    among: str = "true",
    columns: Sequence[str] = (),
) -> Statement:
    """A page, and one row more if there are that many.

    Args:
        matches: SQL of the rows that match, with their keys.
        among: which of them may be on the page.
        columns: SQL of more columns that each row gets, of all matches.
    """
    score = "page.key_0" if keys.scored else "0::float8"
    selected = ", ".join([f"{score} AS score", *(f"page.{key}" for key in keys.names), *columns])
    return (
        f"""
        WITH matches AS MATERIALIZED ({matches}),
        page AS (
            SELECT * FROM matches WHERE {among} ORDER BY {keys.order} LIMIT {page_size + 1})
        SELECT {_FROM_TABLE}, {selected}
        FROM page JOIN {TABLE} t USING (file_id, storage_element_id)
        ORDER BY {keys.order}
        """,
        conditions.parameters,
    )


def along(
    conditions: Conditions, keys: Keys, key: Sequence[object] | None, limit: int
) -> Statement:
    """The first rows that match after a key, read in the order of an index."""
    after = keys.after(conditions, key, selected=False) if key is not None else "true"
    return (
        f"""
        SELECT {_SELECTED}, 0::float8 AS score, {keys.selected}
        FROM {TABLE} WHERE {conditions.sql} AND {after}
        ORDER BY {keys.order} LIMIT {limit}
        """,
        conditions.parameters,
    )
