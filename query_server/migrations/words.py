"""SQL of the function that cuts every text into words, and of what is made of them.

`artstore_cut` answers the lexemes of a text; a mark in front says of what kind one is, and no
mark is ever part of a word:

    word    as it stands: in lower case, no soft hyphen or zero-width character, composed
    ~word   case folded (ß is ss), without accents, points and compatibility forms, where that is
            another word
    -stem   its Russian or English stem, where that is another word
    .part   a part of a word, folded. Borders are where CamelCase, letters or digits begin and
            around each character of a script without spaces; parts are what stands between two
            borders (of such characters the last of a word alone), and each two neighbours as one

A migration that changes one of them needs all rows cut anew.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

from query_server.migrations.characters import (
    CYRILLIC,
    IGNORED,
    OTHERWISE,
    PLAIN,
    PLAIN_LETTERS,
    POINTS,
    UNSPACED,
    UNSPACED_MARKS,
    VARIANTS,
    WORD,
)
from query_server.migrations.weighted import (
    ASCII_BORDER,
    HEAD,
    WORD_CHARACTERS,
    weighted_function,
)
from query_server.search.table import KEY_CHARACTERS

# Rows of an index that is small enough to be cut by the migration itself; takes seconds.
AT_ONCE = 20_000


def make_functions(connection: Connection) -> None:
    """Make them, or make them anew, where the extension unaccent is."""
    version, schema, own = connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::integer, quote_ident(nspname),"
        " quote_ident(current_schema())"
        " FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace"
        " WHERE extname = 'unaccent'"
    ).one()
    for function in functions(version, schema, own):
        connection.exec_driver_sql(function)


def functions(version: int, schema: str, own: str) -> list[str]:
    """SQL that makes them.

    Args:
        version: of the server, as server_version_num.
        schema: that has the extension unaccent.
        own: schema of these functions, which call each other by it: a restore has no search_path.
    """
    # Before 18 PostgreSQL had no full case folding: ß and final sigma are apart from their kin.
    casefold = "casefold({} COLLATE pg_unicode_fast)" if version >= 180000 else "lower({})"
    collate = "COLLATE pg_unicode_fast" if version >= 180000 else ""
    unaccented = f"{schema}.unaccent('{schema}.unaccent'::regdictionary, {{}})"

    otherwise, written = "words", "|".join(OTHERWISE)
    for one, other in OTHERWISE.items():
        otherwise = f"replace({otherwise}, '{one}', '{other}')"

    # Not casefold: a word with ß is another one than that with ss, which comes after it.
    def lower_case(what: str) -> str:
        return f"lower({what} {collate})"

    # Words apart by one space each, in their own case. Of ASCII nothing else is asked.
    spaced = f"""
CREATE OR REPLACE FUNCTION artstore_words(given text) RETURNS text {HEAD} AS $$
BEGIN
    IF octet_length(given) = length(given) THEN
        RETURN btrim(regexp_replace(given, '[^A-Za-z0-9]+', ' ', 'g'));
    ELSIF given ~ '{PLAIN}' THEN
        RETURN btrim(regexp_replace(given, '[^A-Za-z0-9{CYRILLIC}]+', ' ', 'g'));
    END IF;
    RETURN btrim(regexp_replace(
        normalize(regexp_replace(given, '[{IGNORED}]+', '', 'g'), NFC) {collate},
        '[^{WORD}]+', ' ', 'g'));
END $$
"""
    # Case is known by the caller to be lower; й stays what it is, as to everybody who reads it.
    fold = f"""
CREATE OR REPLACE FUNCTION artstore_folded(words text) RETURNS text {HEAD} AS $$
BEGIN
    IF octet_length(words) = length(words) THEN
        RETURN words;
    ELSIF words ~ '{PLAIN}' THEN
        RETURN translate(words, 'ёѐѝ', 'еие');
    END IF;
    words := {unaccented.format(f"normalize({casefold.format('words')}, NFKC)")};
    words := regexp_replace(words {collate}, '[{POINTS}]+', '', 'g');
    IF words ~ '{written}' THEN
        words := {otherwise};
    END IF;
    RETURN {casefold.format(f"translate(words, '{VARIANTS}', '{PLAIN_LETTERS}')")};
END $$
"""
    border = (
        "[[:lower:]][[:upper:]]|[[:upper:]]{2}[[:lower:]]"
        "|[^[:digit:] ][[:digit:]]|[[:digit:]][^[:digit:] ]"
    )
    # A | at each border within words.
    bordered = f"""
CREATE OR REPLACE FUNCTION artstore_bordered(words text) RETURNS text {HEAD} AS $$
DECLARE cut text {collate} := words;
BEGIN
    IF octet_length(words) = length(words) THEN
        IF words !~ '{ASCII_BORDER}' THEN
            RETURN words;
        END IF;
        words := regexp_replace(words, '([A-Z])([A-Z][a-z])', '\\1|\\2', 'g');
        words := regexp_replace(words, '([a-z])([A-Z])', '\\1|\\2', 'g');
        words := regexp_replace(words, '([A-Za-z])([0-9])', '\\1|\\2', 'g');
        RETURN regexp_replace(words, '([0-9])([A-Za-z])', '\\1|\\2', 'g');
    END IF;
    IF cut ~ '[{UNSPACED}]' THEN
        cut := regexp_replace(
            cut, '([{UNSPACED}][{UNSPACED_MARKS}{IGNORED}]*)', '|\\1|', 'g');
        cut := btrim(regexp_replace(replace(cut, '||', '|'), '[|]? [|]?', ' ', 'g'), '|');
    END IF;
    IF cut ~ '{border}' THEN
        cut := regexp_replace(cut, '([[:upper:]])([[:upper:]][[:lower:]])', '\\1|\\2', 'g');
        cut := regexp_replace(cut, '([[:lower:]])([[:upper:]])', '\\1|\\2', 'g');
        cut := regexp_replace(cut, '([^[:digit:] |])([[:digit:]])', '\\1|\\2', 'g');
        cut := regexp_replace(cut, '([[:digit:]])([^[:digit:] |])', '\\1|\\2', 'g');
    END IF;
    RETURN cut;
END $$
"""
    # Neighbours are those from the first on by twos, and those from the second on.
    parts = f"""
CREATE OR REPLACE FUNCTION artstore_parts(spaced text) RETURNS text {HEAD} AS $$
DECLARE
    bordered text := artstore_bordered(spaced);
    pairs text;
    alone text := bordered;
BEGIN
    IF bordered = spaced AND spaced {collate} !~ '[{UNSPACED}]' THEN
        RETURN '';
    END IF;
    pairs := regexp_replace(bordered, '([^| ]+)[|]([^| ]+)[|]?', '\\1\\2 ', 'g') || ' '
        || regexp_replace(
            regexp_replace(bordered, '(^| )[^| ]+[|]?', ' ', 'g'),
            '([^| ]+)[|]([^| ]+)[|]?', '\\1\\2 ', 'g');
    IF octet_length(spaced) <> length(spaced) AND spaced {collate} ~ '[{UNSPACED}]' THEN
        -- What stands between such characters is a part, too, before it is cut further.
        pairs := pairs || ' ' || regexp_replace(spaced, '[{UNSPACED}]+', ' ', 'g');
        alone := regexp_replace(bordered, '[{UNSPACED}][^| ]*', '', 'g');
    END IF;
    RETURN translate(alone, '|', ' ') || ' ' || pairs;
END $$
"""
    # As a query says them, in their order: a character alone says too little.
    asked = f"""
CREATE OR REPLACE FUNCTION artstore_asked_parts(raw text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(array_agg(part ORDER BY first), '{{}}') FROM (
        SELECT part, min(at) AS first FROM (
            SELECT at, CASE WHEN length(unit) > 1 AND unit {collate} !~ '^[{UNSPACED}]' THEN unit
                            ELSE coalesce(unit || next, previous || unit) END AS given
            FROM (SELECT unit, at, lead(unit) OVER (ORDER BY at) AS next,
                         lag(unit) OVER (ORDER BY at) AS previous
                  FROM unnest(string_to_array(artstore_bordered(raw), '|'))
                      WITH ORDINALITY one(unit, at)) units
            WHERE next IS NOT NULL OR previous IS NOT NULL) joined,
            unnest(artstore_without(artstore_folded({lower_case("given")}), '{{}}')) part
        GROUP BY part) parts
$$
"""
    # The dictionaries are those of the configuration `russian`: of Cyrillic words the Russian
    # one, of Latin ones the English one.
    lists = f"""
CREATE OR REPLACE FUNCTION artstore_list(words text) RETURNS text[] {HEAD} AS $$
DECLARE found text[] := array_remove(string_to_array(words, ' '), '');
BEGIN
    IF length(words) > {WORD_CHARACTERS} THEN
        SELECT array_agg(left(word, {WORD_CHARACTERS})) INTO found FROM unnest(found) word;
    END IF;
    RETURN coalesce(found, '{{}}');
END $$
"""
    stems = f"""
CREATE OR REPLACE FUNCTION artstore_stems(words text[]) RETURNS text[] {HEAD} AS $$
DECLARE plain text := array_to_string(words, ' ');
BEGIN
    -- What is not of letters only has no stem, and the parser would take it apart.
    IF plain ~ '[^a-zа-яё ]' THEN
        plain := regexp_replace(plain, '[^ ]*[^a-zа-яё ][^ ]*', '', 'g');
    END IF;
    RETURN tsvector_to_array(ts_delete(to_tsvector('pg_catalog.russian', plain), words));
END $$
"""
    cut = f"""
CREATE OR REPLACE FUNCTION artstore_cut(given text) RETURNS text[] {HEAD} AS $$
DECLARE
    spaced text := artstore_words(given);
    parts text;
    known text[];
    fresh text[];
    found text[];
BEGIN
    IF spaced = '' THEN
        RETURN '{{}}';
    END IF;
    parts := artstore_parts(spaced);
    found := artstore_list({lower_case("spaced")});
    known := found;
    IF octet_length(spaced) <> length(spaced) THEN
        fresh := artstore_without(artstore_folded(array_to_string(known, ' ')), known);
        known := known || fresh;
        found := found || artstore_marked('~', fresh);
    END IF;
    IF parts <> '' THEN
        fresh := artstore_without(artstore_folded({lower_case("parts")}), known);
        known := known || fresh;
        found := found || artstore_marked('.', fresh);
    END IF;
    RETURN found || artstore_marked('-', artstore_stems(known));
END $$
"""
    without = f"""
CREATE OR REPLACE FUNCTION artstore_without(words text, known text[]) RETURNS text[] {HEAD} AS $$
BEGIN
    IF words ~ '[^a-z0-9 ]' THEN
        words := regexp_replace(words {collate}, '[^{WORD} ]+', '', 'g');
    END IF;
    RETURN tsvector_to_array(ts_delete(array_to_tsvector(artstore_list(words)), known));
END $$
"""
    marked = f"""
CREATE OR REPLACE FUNCTION artstore_marked(mark text, words text[]) RETURNS text[] {HEAD} AS $$
BEGIN
    IF cardinality(words) = 0 THEN
        RETURN words;
    END IF;
    RETURN string_to_array(mark || array_to_string(words, ' ' || mark), ' ');
END $$
"""
    weighted = weighted_function(lower_case("plain"))
    vector = f"""
CREATE OR REPLACE FUNCTION artstore_vector(
    name text, description text, version text, tags text[], attributes jsonb
) RETURNS tsvector {HEAD} AS $$
DECLARE rest text := version;
BEGIN
    IF attributes <> '{{}}' THEN
        SELECT concat_ws(' ', version, string_agg(key || ' ' || value, ' ')) INTO rest
        FROM jsonb_each_text(attributes);
    END IF;
    RETURN artstore_weighted(name, 'A') || artstore_weighted(array_to_string(tags, ' '), 'B')
        || artstore_weighted(description, 'C') || artstore_weighted(rest, 'D');
END $$
"""
    visible = f"""
CREATE OR REPLACE FUNCTION artstore_visible(name text) RETURNS text {HEAD} AS $$
BEGIN
    IF octet_length(name) <> length(name) AND name !~ '{PLAIN}' THEN
        RETURN normalize(regexp_replace(name, '[{IGNORED}]+', '', 'g'), NFC);
    END IF;
    RETURN name;
END $$
"""
    # A name folded and, where that is another text, in its own form behind a \u0001.
    name = f"""
CREATE OR REPLACE FUNCTION artstore_name(name text) RETURNS text {HEAD} AS $$
DECLARE
    cased text := {lower_case("translate(artstore_visible(name), chr(1), ' ')")};
    folded text := artstore_folded(cased);
BEGIN
    RETURN folded || CASE WHEN cased <> folded THEN E'\\u0001' || cased ELSE '' END;
END $$
"""
    # What names are sorted by: a number by its length first.
    key = f"""
CREATE OR REPLACE FUNCTION artstore_name_key(name text) RETURNS text {HEAD} AS $$
DECLARE key text := artstore_name(name);
BEGIN
    IF key ~ '[0-9]' THEN
        SELECT string_agg(CASE WHEN piece[1] ~ '^[0-9]'
            THEN '0' || chr(97 + least(length(ltrim(piece[1], '0')), {KEY_CHARACTERS}))
                || ltrim(piece[1], '0')
            ELSE piece[1] END, '' ORDER BY at) INTO key
        FROM regexp_matches(key, '[0-9]+|[^0-9]+', 'g') WITH ORDINALITY one(piece, at);
    END IF;
    RETURN left(key, {KEY_CHARACTERS});
END $$
"""
    # One row for each distinct word of a query, the first `most`. Each part has its stem beside
    # it, empty if that is the part itself.
    terms = f"""
CREATE OR REPLACE FUNCTION artstore_terms(given text, most integer) RETURNS TABLE (
    word text, folded text[], stems text[], parts text[], part_stems text[]
) {HEAD} AS $$
DECLARE raw text;
BEGIN
    FOR raw IN
        SELECT min(one) FROM unnest(string_to_array(artstore_words(given), ' '))
            WITH ORDINALITY found(one, at)
        WHERE one <> '' GROUP BY {lower_case("one")} ORDER BY min(at) LIMIT most
    LOOP
        word := left({lower_case("raw")}, {WORD_CHARACTERS});
        folded := artstore_without(artstore_folded(word), '{{}}');
        stems := artstore_stems(folded);
        parts := artstore_asked_parts(raw);
        -- One that is the word itself is a part of others as it stands, so the rest adds nothing.
        IF parts && folded THEN
            parts := '{{}}';
        END IF;
        part_stems := ARRAY(
            SELECT coalesce((artstore_stems(ARRAY[part]))[1], '')
            FROM unnest(parts) WITH ORDINALITY one(part, at) ORDER BY at);
        RETURN NEXT;
    END LOOP;
END $$
"""
    # Where in a word with borders what matches is: begin and end, again and again. The whole word
    # stands for it if none of its parts does.
    within = f"""
CREATE OR REPLACE FUNCTION artstore_marks_within(
    word text, wanted tsquery, letters text[], reach integer
) RETURNS integer[] {HEAD} AS $$
DECLARE
    units text[] := string_to_array(artstore_bordered(word), '|');
    size integer := cardinality(units);
    folded text[] := string_to_array(
        artstore_folded({lower_case("array_to_string(units, '|')")}), '|');
    pairs boolean[];
    alone boolean[];
    spans integer[] := '{{}}';
    at integer := 0;
BEGIN
    IF cardinality(folded) = size THEN
        SELECT array_agg(array_to_tsvector(ARRAY['.' || one]) @@ wanted
                         OR left(one, 1) = ANY(letters) AND one !~ '^[{UNSPACED}]'
                         AND artstore_weighted(one, 'A') @@ wanted ORDER BY n),
               array_agg(array_to_tsvector(ARRAY['.' || one || next]) @@ wanted ORDER BY n)
        INTO alone, pairs
        FROM (SELECT one, n, coalesce(lead(one) OVER (ORDER BY n), '') AS next
              FROM unnest(folded) WITH ORDINALITY given(one, n)) units;
        FOR k IN 1 .. size LOOP
            EXIT WHEN at > spans[1] + reach;
            IF alone[k] THEN
                spans := spans || ARRAY[at, at + length(units[k])];
            ELSIF k < size AND pairs[k] AND NOT alone[k + 1] THEN
                spans := spans || ARRAY[at, at + length(units[k]) + length(units[k + 1])];
            END IF;
            at := at + length(units[k]);
        END LOOP;
    END IF;
    IF spans = '{{}}' AND artstore_weighted(left(word, {WORD_CHARACTERS}), 'A') @@ wanted THEN
        RETURN ARRAY[0, length(word)];
    END IF;
    RETURN spans;
END $$
"""
    # Where in a composed text words match, or resemble one of `alike` if that is not null: begin
    # and end, again and again, as far as `reach` characters beyond the first one. A word that is
    # not cut further begins with one of `letters` or does not match.
    marks = f"""
CREATE OR REPLACE FUNCTION artstore_marks(
    given text, wanted tsquery, letters text[], alike text[], reach integer
) RETURNS integer[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    gap text;
    word text;
    within integer[];
    spans integer[] := '{{}}';
    at integer := 0;
    initial text;
BEGIN
    FOR gap, word IN SELECT m[1], m[2] FROM regexp_matches(
        given {collate}, '([^{WORD}]*)([{WORD}][{WORD}{IGNORED}]*)', 'g') m
    LOOP
        at := at + length(gap);
        EXIT WHEN at > spans[1] + reach;
        within := NULL;
        IF alike IS NOT NULL THEN
            IF EXISTS (SELECT FROM unnest(alike) one
                       WHERE similarity({lower_case("word")}, one) >= 0.3) THEN
                within := ARRAY[0, length(word)];
            END IF;
        ELSE
            initial := left(artstore_folded({lower_case("left(word, 1)")}), 1);
            IF artstore_bordered(word) <> word THEN
                within := artstore_marks_within(word, wanted, letters, reach);
            ELSIF (initial = '' OR initial = ANY(letters) OR word {collate} ~ '^[{UNSPACED}]')
                AND artstore_weighted(word, 'A') @@ wanted
            THEN
                within := ARRAY[0, length(word)];
            END IF;
        END IF;
        FOR n IN 1 .. coalesce(cardinality(within), 0) LOOP
            spans := spans || within[n] + at;
        END LOOP;
        at := at + length(word);
    END LOOP;
    RETURN spans;
END $$
"""
    row = """
CREATE OR REPLACE FUNCTION artstore_row_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.words IS NOT NULL
            AND (NEW.original_filename, NEW.description, NEW.version, NEW.tags, NEW.attributes)
            IS NOT DISTINCT FROM
            (OLD.original_filename, OLD.description, OLD.version, OLD.tags, OLD.attributes)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.words := artstore_vector(
        NEW.original_filename, NEW.description, NEW.version, NEW.tags, NEW.attributes);
    NEW.name_key := artstore_name_key(NEW.original_filename);
    RETURN NEW;
END $$
"""
    made = [
        spaced, fold, bordered, parts, lists, stems, without, marked, asked, cut, weighted,
        vector, visible, name, key, terms, within, marks, row,
    ]  # fmt: skip
    return [re.sub(r"\b(artstore_\w+\()", rf"{own}.\1", function) for function in made]


# Without their arguments, for those who drop them.
NAMES = (
    "artstore_asked_parts",
    "artstore_bordered", "artstore_cut", "artstore_folded", "artstore_list", "artstore_marked",
    "artstore_marks", "artstore_marks_within", "artstore_name", "artstore_name_key",
    "artstore_parts", "artstore_row_words", "artstore_words", "artstore_stems", "artstore_terms",
    "artstore_vector", "artstore_visible", "artstore_weighted", "artstore_without",
)  # fmt: skip
