"""The SQL that every search shares: what matches, how many there seem to be, a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.follower.rows import COLUMNS
from query_server.search import filters
from query_server.search.filters import Conditions
from query_server.search.paging import MAX_NAMESAKES
from query_server.search.request import Order, SearchQuery
from query_server.search.table import CUT, TABLE, Layout
from query_server.search.terms import MAX_WORDS, Terms

MATCHES_CAP = 10_000
# How many files match is guessed from so many of the newest. All matches of a search are looked at
# if they seem to be no more than FEW_MATCHES; of others those among the WALKED_ROWS newest files,
# in the order of an index on time, and of them RANKED are compared for relevance. Down to a quarter
# of that is walked where it seems to hold ENOUGH_MATCHES, twice as much for a search whose count
# then reaches the cap, so that it is seen to be capped.
PROBED_ROWS = 1_000
FEW_MATCHES = 5_000
WALKED_ROWS = 20_000
ENOUGH_MATCHES = 200
RANKED = 1_000
FACET_VALUES = 20
FACET_MATCHES = 2_000
# Names that resemble a text: so many are compared, and so many of the closest are answered.
SIMILAR_COMPARED = 5_000
SIMILAR_CAP = 200
# Of the files with one name so many are looked at for those that pass the filters.
NAMESAKES_LOOKED_AT = 1_000

_NAMES = [name for name in COLUMNS if name not in ("epoch", "digest")]
_SELECTED = ", ".join(_NAMES)
_FROM_TABLE = ", ".join(f"t.{name}" for name in _NAMES)

# Of a row that matches, and of all of these.
MATCHED = "file_id, storage_element_id, media_type, tags, created_at"
# Field -> SQL of the matches that are looked at `first`, with its values.
_FACET_SQL = {
    "content_type": "SELECT media_type AS value FROM first",
    "storage_element_id": "SELECT storage_element_id AS value FROM first",
    "tag": "SELECT value FROM (SELECT DISTINCT file_id, unnest(tags) AS value FROM first) tagged",
}

# SQL and its parameters.
Statement = tuple[str, Sequence[object]]


@dataclass(frozen=True, slots=True)
class Search:
    """A query, cut into words, and what it goes by.

    Attributes:
        named: ids of files that have the text as their name; they match, and come first.
    """

    query: SearchQuery
    terms: Terms = field(default_factory=Terms)
    named: Sequence[str] = ()
    layout: Layout = CUT

    @property
    def column(self) -> str:
        """SQL of the value that the order goes by; of relevance there is none."""
        if self.query.order is Order.NAME:
            return self.layout.name_order
        return self.query.order.value

    def conditions(self, *, named: bool = True) -> Conditions:
        """What a row must be.

        Args:
            named: the files of that name match; else they do not, whatever their words.
        """
        conditions = Conditions()
        # Of what costs the same PostgreSQL looks at the first: the words are the row's last column.
        filters.apply(conditions, self.query.filters, self.query.readable)
        either = []
        if self.terms:
            wanted = conditions.parameter(self.terms.matching)
            either.append(f"{self.layout.words} @@ {wanted}::text::tsquery")
        if self.named and named:
            either.append(self.is_named(conditions))
        elif self.named:
            conditions.clauses.append(f"NOT {self.is_named(conditions)}")
        if either:
            conditions.clauses.append(f"({' OR '.join(either)})")
        return conditions

    def is_named(self, conditions: Conditions) -> str:
        """SQL of whether a row is one of a file with that name."""
        return f"file_id = ANY({conditions.parameter(list(self.named))}::text[])"

    def relevance(self, conditions: Conditions) -> str:
        """SQL: at most 1 by words, and more than 1 beside for a file of that name."""
        parts = []
        if self.terms:
            ways = [list(map(conditions.parameter, word.ways)) for word in self.terms.words]
            parts.append(self.terms.relevance(self.layout.words, ways))
        if self.named:
            closeness = _closeness(conditions, self.query)
            parts.append(f"CASE WHEN {self.is_named(conditions)} THEN {closeness} ELSE 0 END")
        return f"({' + '.join(parts)})::float8"


def asked(query: SearchQuery, *, names: bool) -> Statement:
    """One row: `words` of the query, and ids of files `named` by it if `names` are asked for."""
    sql, parameters = namesakes(query) if names else ("SELECT NULL WHERE false", [])
    text = f"${len(parameters) + 1}"
    return (
        f"""
        SELECT coalesce(jsonb_agg(to_jsonb(found)), '[]')::text AS words, ARRAY({sql}) AS named
        FROM artstore_terms({text}, {MAX_WORDS}) found
        """,
        [*parameters, query.text],
    )


def namesakes(query: SearchQuery) -> Statement:
    """Rows with `file_id` of files whose whole name is the text, in another case or form or
    without accents too: at most MAX_NAMESAKES, the closest to it first, then the newest.
    """
    conditions = Conditions()
    names = conditions.parameter(_names(query))
    filters.apply(conditions, query.filters, query.readable)
    # By the index on names, whose order is that of the ids, so that a name that a million files
    # have costs no more than another one.
    begin = r"split_part(artstore_name_key(name), E'\u0001', 1)"
    folded = r"split_part(artstore_name({}), E'\u0001', 1)"
    return (
        f"""
        SELECT file_id FROM unnest({names}::text[]) name CROSS JOIN LATERAL (
            SELECT * FROM {TABLE}
            WHERE state = 'active'
              AND name_key >= {begin} AND name_key < {begin} || E'\\u0002'
              AND {folded.format("original_filename")} IS NOT DISTINCT FROM {folded.format("name")}
              AND length(file_id) <= 64
            ORDER BY name_key DESC, file_id DESC LIMIT {NAMESAKES_LOOKED_AT}) {TABLE}
        WHERE {conditions.sql}
        GROUP BY file_id
        ORDER BY max({_closeness(conditions, query)}) DESC, file_id DESC
        LIMIT {MAX_NAMESAKES}
        """,
        conditions.parameters,
    )


def _names(query: SearchQuery) -> list[str]:
    return list(dict.fromkeys((query.whole, query.text)))


def _closeness(conditions: Conditions, query: SearchQuery) -> str:
    """SQL of how close the name of a namesake is to the text: the very text, what looks the same,
    another case, or a folded form. The steps are larger than what tags and such can add.
    """
    names = conditions.parameter(_names(query))
    steps = [f"WHEN original_filename = ANY({names}::text[]) THEN 2"]
    for form, step in (("artstore_visible", 1.75), ("artstore_name", 1.5)):
        same = f"ARRAY(SELECT {form}(name) FROM unnest({names}::text[]) name)"
        steps.append(f"WHEN {form}(original_filename) = ANY({same}) THEN {step}")
    return f"CASE {' '.join(steps)} ELSE 1.25 END"


# SQL: whether few files match, as was guessed, and how many of the newest are walked if not.
FEW = "(SELECT few FROM probed)"
WALK = "(SELECT walk FROM probed)"


def probe(guess: str, conditions: Conditions) -> str:
    """SQL of `few`: what `guess` says of `matched` and `files`; and of `walk`."""
    if guess in ("true", "false"):
        return f"SELECT {guess} AS few, {2 * WALKED_ROWS} AS walk"
    capped = f"matched * {2 * WALKED_ROWS} > {MATCHES_CAP * PROBED_ROWS}"
    enough = f"{ENOUGH_MATCHES * PROBED_ROWS} / greatest(matched, 1)"
    return f"""
        SELECT {guess} AS few,
               CASE WHEN {capped} THEN {2 * WALKED_ROWS}
                    ELSE least(greatest({enough}, {WALKED_ROWS // 4}), {WALKED_ROWS}) END AS walk
        FROM (
            SELECT count(*) AS matched, (SELECT greatest(reltuples, 0)::bigint FROM pg_class
                                         WHERE oid = '{TABLE}'::regclass) AS files
            FROM ({newest(PROBED_ROWS)}) {TABLE} WHERE {conditions.sql}) counted"""


def with_named(search: Search, walked: str, conditions: Conditions) -> str:
    """SQL of the rows of `walked` after those of the files of that name, which may be older."""
    if not search.named:
        return f"({walked}) {TABLE}"
    named = search.is_named(conditions)
    return (
        f"(SELECT * FROM {TABLE} WHERE state = 'active' AND {named} UNION ALL"
        f" (SELECT * FROM ({walked}) {TABLE} WHERE NOT {named})) {TABLE}"
    )


def newest(rows: int | str, among: str = "true") -> str:
    """SQL of the newest files, newest first; `rows` is how many, or SQL of it."""
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


def matched(search: Search, conditions: Conditions, table: str = TABLE) -> str:
    """SQL: in which fields of a row a word is, by weight: name, tags, description, the rest."""
    if not search.terms:
        return "NULL::boolean[] AS matched"
    wanted = f"{conditions.parameter(search.terms.marking)}::text::tsquery"
    fields = (
        f"ts_filter({table}.{search.layout.words}, '{{{weight}}}') @@ {wanted}" for weight in "abcd"
    )
    return f"ARRAY[{', '.join(fields)}] AS matched"


_ONCE = """NOT EXISTS (SELECT FROM twice WHERE twice.file_id = matches.file_id
    AND twice.kept <> matches.storage_element_id)"""


def counted(query: SearchQuery) -> str:
    """SQL of `total`, which tells files, or more than the cap where there are more rows, and of
    the `facets` of the first FACET_MATCHES.
    """
    facets = ", ".join(
        f"""'{field}', (SELECT jsonb_agg(jsonb_build_array(value, files)) FROM (
            SELECT value, count(*) AS files FROM ({values}) found
            GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {FACET_VALUES}) counted)"""
        for field, values in _FACET_SQL.items()
        if field in query.facets
    )
    return f"""
        (SELECT CASE WHEN count(*) > {MATCHES_CAP} THEN count(*)
                     ELSE count(*) - (SELECT coalesce(sum(times - 1), 0) FROM twice)::bigint END
         FROM matches) AS total, jsonb_build_object({facets})::text AS facets"""


def page(
    search: Search,
    conditions: Conditions,
    keys: Keys,
    matches: str,
    *,
    among: str = "true",
    columns: Sequence[str] = (),
    marked: bool = True,
    probed: str = "SELECT true AS few, 0 AS walk",
    beside: str = "",
) -> Statement:
    """A page, and one row more if there are that many.

    A file may have two replicas: of those that are `twice` among the matches one is `kept`.

    Args:
        matches: SQL of the rows that match, with their keys.
        among: which of them may be on the page.
        columns: SQL of more columns that each row gets, of all matches.
        marked: tell in which fields the words are.
        probed: SQL of what FEW asks.
        beside: SQL of rows that are on the page, too.
    """
    score = "page.key_0" if keys.scored else "0::float8"
    if marked:
        columns = [*columns, matched(search, conditions, "t")]
    selected = ", ".join([f"{score} AS score", *(f"page.{key}" for key in keys.names), *columns])
    return (
        f"""
        WITH probed AS MATERIALIZED ({probed}),
        matches AS MATERIALIZED ({matches}),
        twice AS MATERIALIZED (
            SELECT file_id, min(storage_element_id) AS kept, count(*) AS times
            FROM matches GROUP BY file_id HAVING count(*) > 1),
        first AS MATERIALIZED (
            SELECT file_id, media_type, storage_element_id, tags FROM matches
            WHERE {_ONCE} LIMIT {FACET_MATCHES}),
        page AS (
            (SELECT file_id, storage_element_id, {", ".join(keys.names)} FROM matches
             WHERE {among} AND {_ONCE}
             ORDER BY {keys.order} LIMIT {search.query.page_size + 1}){beside})
        SELECT {_FROM_TABLE}, {selected}
        FROM page JOIN {TABLE} t USING (file_id, storage_element_id)
        ORDER BY {keys.order}
        """,
        conditions.parameters,
    )


def beside(search: Search, conditions: Conditions, keys: Keys) -> str:
    """SQL of the first rows along an index, unless there are FEW."""
    return f"""
        UNION ALL
        (SELECT file_id, storage_element_id, {keys.selected} FROM {TABLE}
         WHERE NOT {FEW} AND {conditions.sql} AND {_first_replica(conditions)}
         ORDER BY {keys.order} LIMIT {search.query.page_size + 1})"""


def along(
    search: Search, conditions: Conditions, keys: Keys, key: Sequence[object], limit: int
) -> Statement:
    """The first rows that match after a key, read in the order of an index."""
    return (
        f"""
        SELECT {_SELECTED}, 0::float8 AS score, {keys.selected}, {matched(search, conditions)}
        FROM {TABLE} WHERE {conditions.sql} AND {keys.after(conditions, key, selected=False)}
        AND {_first_replica(conditions)}
        ORDER BY {keys.order} LIMIT {limit}
        """,
        conditions.parameters,
    )


def _first_replica(conditions: Conditions) -> str:
    return f"""NOT EXISTS (
        SELECT FROM {TABLE} other WHERE other.file_id = {TABLE}.file_id
        AND other.storage_element_id < {TABLE}.storage_element_id AND {conditions.sql})"""
