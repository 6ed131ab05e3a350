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

from query_server.search.table import KEY_CHARACTERS, TABLE

# Rows of an index that is small enough to be cut by the migration itself; takes seconds.
AT_ONCE = 20_000
# Characters of a word that are looked at.
WORD_CHARACTERS = 100

# Soft hyphen, joiners, directions, variation selectors: they are seen by nobody.
_IGNORED = (
    r"\u00AD\u034F\u061C\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF"
)
# Marks and numbers that are no [:alnum:] to PostgreSQL, of Unicode's categories M and N.
_MARKS = (
    r"\u00B2-\u00B3\u00B9\u00BC-\u00BE\u0300-\u034E\u0350-\u036F\u0483-\u0489\u0591-\u05BD\u05BF"
    r"\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E8"
    r"\u06EA-\u06ED\u0740-\u074A\u07EB-\u07F3\u07FD\u0818-\u082D\u0859-\u085B\u0898-\u08E1"
    r"\u08EA-\u08EF\u093C-\u0954\u09BC-\u09CD\u09F4-\u09F9\u09FE-\u0A4D\u0ABC-\u0ACD\u0AFD-\u0B55"
    r"\u0B72-\u0B77\u0BCD-\u0BF2\u0C3C-\u0C4D\u0C78-\u0C7E\u0CBC-\u0CCD\u0D3B-\u0D4D\u0D58-\u0D78"
    r"\u0DCA\u0E47-\u0E4E\u0EBA-\u0ECC\u0F18-\u0F19\u0F2A-\u0F33\u0F35\u0F37\u0F39\u0F3E-\u0F3F"
    r"\u0F84\u0F86-\u0F87\u0FC6\u1037-\u103A\u135D-\u135F\u1369-\u137C\u1714-\u1734\u17B4-\u17D3"
    r"\u17DD-\u17F9\u1939-\u193B\u19DA\u1A60-\u1A7F\u1AB0-\u1ACE\u1B34-\u1B44\u1B6B-\u1B73"
    r"\u1BAA-\u1BF3\u1C37\u1CD0-\u1CD2\u1CD4-\u1CF9\u1DC0-\u1DFF\u2070-\u2079\u2080-\u2089"
    r"\u20D0-\u20F0\u2150-\u2189\u2460-\u249B\u24EA-\u24FF\u2776-\u2793\u2CEF-\u2CF1\u2CFD\u2D7F"
    r"\u302A-\u302F\u3099-\u309A\u3192-\u3195\u3220-\u3229\u3248-\u324F\u3251-\u325F\u3280-\u3289"
    r"\u32B1-\u32BF\uA66F-\uA672\uA67C-\uA67D\uA6F0-\uA6F1\uA806\uA82C-\uA835\uA8C4\uA8E0-\uA8F1"
    r"\uA92B-\uA92D\uA953\uA9B3-\uA9C0\uAABF-\uAAC1\uAAF6\uABEC-\uABED\uFE20-\uFE2F"
    r"\U00010107-\U00010133\U00010A01-\U00010A48\U00010D24-\U00010D27\U00010F46-\U00010F50"
    r"\U00011000-\U00011002\U00011038-\U00011046\U0001107F-\U00011082\U000110B0-\U000110BA"
    r"\U00011100-\U00011102\U00011127-\U00011134\U00011173\U00011180-\U00011182"
    r"\U000111B3-\U000111C0\U0001122C-\U00011237\U000112DF-\U000112EA\U00011300-\U00011303"
    r"\U0001133B-\U0001133C\U0001133E-\U0001134D\U00011435-\U00011446\U000114B0-\U000114C3"
    r"\U000115AF-\U000115C0\U00011630-\U00011640\U000116AB-\U000116B7\U0001E000-\U0001E02A"
    r"\U0001E130-\U0001E136\U0001E2EC-\U0001E2EF\U0001E8D0-\U0001E8D6\U0001E944-\U0001E94A"
    r"\U0001F100-\U0001F10C"
)
_WORD = f"[:alnum:]{_MARKS}"
# Han, kana, bopomofo, hangul; Thai, Lao, Burmese, Khmer without their digits.
_UNSPACED = (
    r"\u0E01-\u0E3A\u0E40-\u0E4E\u0E81-\u0ECE\u0EDC-\u0EDF\u1000-\u103F\u1050-\u108F\u109A-\u109F"
    r"\u1100-\u11FF\u1780-\u17D3\u17D7-\u17DD\u3005-\u3007\u3041-\u312F\u3131-\u318E\u31A0-\u31FF"
    r"\u3400-\u4DBF\u4E00-\u9FFF\uA960-\uA97C\uAC00-\uD7FB\uF900-\uFAFF\uFF66-\uFFDC"
    r"\U0001B000-\U0001B16F\U00020000-\U0003FFFD"
)
# Of these scripts, what belongs to the character before it.
_UNSPACED_MARKS = (
    r"\u0E31\u0E33-\u0E3A\u0E47-\u0E4E\u0EB1\u0EB3-\u0EBC\u0EC8-\u0ECE\u102B-\u103E\u1056-\u1059"
    r"\u105E-\u1060\u1062-\u1064\u1067-\u106D\u1071-\u1074\u1082-\u108D\u108F\u109A-\u109D"
    r"\u17B4-\u17D3\u17DD\u302A-\u302F\u3099-\u309A\uFF9E-\uFF9F"
)
# Hebrew and Arabic points, the Arabic stroke that only widens, nuktas, marks of many scripts.
_POINTS = (
    r"\u0300-\u034E\u0350-\u036F\u0483-\u0489\u0591-\u05BD\u05BF-\u05C7\u0610-\u061A\u0640"
    r"\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E8\u06EA-\u06ED\u0711\u0730-\u074A\u07EB-\u07F3"
    r"\u07FD\u0816-\u0819\u081B-\u0823\u0825-\u0827\u0829-\u082D\u0859-\u085B\u0898-\u089F"
    r"\u08CA-\u08E1\u08E3-\u08FF\u093C\u09BC\u0A3C\u0ABC\u0B3C\u135D-\u135F\u1AB0-\u1AFF"
    r"\u1DC0-\u1DFF\u20D0-\u20F0\u2CEF-\u2CF1\uFE20-\uFE2F"
)

# Arabic letters that are typed for each other: alef with what it carries, yeh, teh marbuta, kaf;
# of Devanagari those that keep their nukta.
_VARIANTS = "\u0623\u0625\u0622\u0671\u0649\u0629\u06cc\u06a9\u0929\u0931\u0934"
_PLAIN_LETTERS = "\u0627\u0627\u0627\u0627\u064a\u0647\u064a\u0643\u0928\u0930\u0933"
# What is written in two ways: the Armenian ligature of ech and yiwn, whose capitals are ech, vew;
# Malayalam and Bengali letters that were a consonant, a virama and a joiner before they were one.
_OTHERWISE = {
    "\u0565\u0582": "\u0565\u057e",
    "\u0d7a": "\u0d23\u0d4d", "\u0d7b": "\u0d28\u0d4d", "\u0d7c": "\u0d30\u0d4d",
    "\u0d7d": "\u0d32\u0d4d", "\u0d7e": "\u0d33\u0d4d", "\u0d7f": "\u0d15\u0d4d",
    "\u09ce": "\u09a4\u09cd",
}  # fmt: skip
# ASCII and Cyrillic letters, composed as far as they can be: nothing of the above is in such texts.
_CYRILLIC = r"\u0400-\u0482\u048A-\u052F"
_PLAIN = rf"^[\u0001-\u007F{_CYRILLIC}]*$"

_HEAD = "LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT"


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

    otherwise, written = "words", "|".join(_OTHERWISE)
    for one, other in _OTHERWISE.items():
        otherwise = f"replace({otherwise}, '{one}', '{other}')"

    # Not casefold: a word with ß is another one than that with ss, which comes after it.
    def lower_case(what: str) -> str:
        return f"lower({what} {collate})"

    # Words apart by one space each, in their own case. Of ASCII nothing else is asked.
    spaced = f"""
CREATE OR REPLACE FUNCTION artstore_words(given text) RETURNS text {_HEAD} AS $$
BEGIN
    IF octet_length(given) = length(given) THEN
        RETURN btrim(regexp_replace(given, '[^A-Za-z0-9]+', ' ', 'g'));
    ELSIF given ~ '{_PLAIN}' THEN
        RETURN btrim(regexp_replace(given, '[^A-Za-z0-9{_CYRILLIC}]+', ' ', 'g'));
    END IF;
    RETURN btrim(regexp_replace(
        normalize(regexp_replace(given, '[{_IGNORED}]+', '', 'g'), NFC) {collate},
        '[^{_WORD}]+', ' ', 'g'));
END $$
"""
    # Case is known by the caller to be lower; й stays what it is, as to everybody who reads it.
    fold = f"""
CREATE OR REPLACE FUNCTION artstore_folded(words text) RETURNS text {_HEAD} AS $$
BEGIN
    IF octet_length(words) = length(words) THEN
        RETURN words;
    ELSIF words ~ '{_PLAIN}' THEN
        RETURN translate(words, 'ёѐѝ', 'еие');
    END IF;
    words := {unaccented.format(f"normalize({casefold.format('words')}, NFKC)")};
    words := regexp_replace(words {collate}, '[{_POINTS}]+', '', 'g');
    IF words ~ '{written}' THEN
        words := {otherwise};
    END IF;
    RETURN {casefold.format(f"translate(words, '{_VARIANTS}', '{_PLAIN_LETTERS}')")};
END $$
"""
    border = (
        "[[:lower:]][[:upper:]]|[[:upper:]]{2}[[:lower:]]"
        "|[^[:digit:] ][[:digit:]]|[[:digit:]][^[:digit:] ]"
    )
    # A | at each border within words.
    bordered = f"""
CREATE OR REPLACE FUNCTION artstore_bordered(words text) RETURNS text {_HEAD} AS $$
DECLARE cut text {collate} := words;
BEGIN
    IF octet_length(words) = length(words) THEN
        IF words !~ '[a-z][A-Z]|[A-Z]{{2}}[a-z]|[A-Za-z][0-9]|[0-9][A-Za-z]' THEN
            RETURN words;
        END IF;
        words := regexp_replace(words, '([A-Z])([A-Z][a-z])', '\\1|\\2', 'g');
        words := regexp_replace(words, '([a-z])([A-Z])', '\\1|\\2', 'g');
        words := regexp_replace(words, '([A-Za-z])([0-9])', '\\1|\\2', 'g');
        RETURN regexp_replace(words, '([0-9])([A-Za-z])', '\\1|\\2', 'g');
    END IF;
    IF cut ~ '[{_UNSPACED}]' THEN
        cut := regexp_replace(
            cut, '([{_UNSPACED}][{_UNSPACED_MARKS}{_IGNORED}]*)', '|\\1|', 'g');
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
CREATE OR REPLACE FUNCTION artstore_parts(spaced text) RETURNS text {_HEAD} AS $$
DECLARE
    bordered text := artstore_bordered(spaced);
    pairs text;
    alone text := bordered;
BEGIN
    IF bordered = spaced AND spaced {collate} !~ '[{_UNSPACED}]' THEN
        RETURN '';
    END IF;
    pairs := regexp_replace(bordered, '([^| ]+)[|]([^| ]+)[|]?', '\\1\\2 ', 'g') || ' '
        || regexp_replace(
            regexp_replace(bordered, '(^| )[^| ]+[|]?', ' ', 'g'),
            '([^| ]+)[|]([^| ]+)[|]?', '\\1\\2 ', 'g');
    IF octet_length(spaced) <> length(spaced) AND spaced {collate} ~ '[{_UNSPACED}]' THEN
        -- What stands between such characters is a part, too, before it is cut further.
        pairs := pairs || ' ' || regexp_replace(spaced, '[{_UNSPACED}]+', ' ', 'g');
        alone := regexp_replace(bordered, '[{_UNSPACED}][^| ]*', '', 'g');
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
            SELECT at, CASE WHEN length(unit) > 1 AND unit {collate} !~ '^[{_UNSPACED}]' THEN unit
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
CREATE OR REPLACE FUNCTION artstore_list(words text) RETURNS text[] {_HEAD} AS $$
DECLARE found text[] := array_remove(string_to_array(words, ' '), '');
BEGIN
    IF length(words) > {WORD_CHARACTERS} THEN
        SELECT array_agg(left(word, {WORD_CHARACTERS})) INTO found FROM unnest(found) word;
    END IF;
    RETURN coalesce(found, '{{}}');
END $$
"""
    stems = f"""
CREATE OR REPLACE FUNCTION artstore_stems(words text[]) RETURNS text[] {_HEAD} AS $$
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
CREATE OR REPLACE FUNCTION artstore_cut(given text) RETURNS text[] {_HEAD} AS $$
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
CREATE OR REPLACE FUNCTION artstore_without(words text, known text[]) RETURNS text[] {_HEAD} AS $$
BEGIN
    IF words ~ '[^a-z0-9 ]' THEN
        words := regexp_replace(words {collate}, '[^{_WORD} ]+', '', 'g');
    END IF;
    RETURN tsvector_to_array(ts_delete(array_to_tsvector(artstore_list(words)), known));
END $$
"""
    marked = f"""
CREATE OR REPLACE FUNCTION artstore_marked(mark text, words text[]) RETURNS text[] {_HEAD} AS $$
BEGIN
    IF cardinality(words) = 0 THEN
        RETURN words;
    END IF;
    RETURN string_to_array(mark || array_to_string(words, ' ' || mark), ' ');
END $$
"""
    # Each lexeme has one position, since relevance goes by fields, not by how often a word is in.
    weighted = f"""
CREATE OR REPLACE FUNCTION artstore_weighted(given text, weight text) RETURNS tsvector {_HEAD} AS $$
DECLARE words text[];
BEGIN
    IF given = '' THEN
        RETURN '';
    END IF;
    words := artstore_cut(given);
    IF cardinality(words) = 0 THEN
        RETURN '';
    END IF;
    RETURN (array_to_string(words, ':1' || weight || ' ') || ':1' || weight)::tsvector;
END $$
"""
    vector = f"""
CREATE OR REPLACE FUNCTION artstore_vector(
    name text, description text, version text, tags text[], attributes jsonb
) RETURNS tsvector {_HEAD} AS $$
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
CREATE OR REPLACE FUNCTION artstore_visible(name text) RETURNS text {_HEAD} AS $$
BEGIN
    IF octet_length(name) <> length(name) AND name !~ '{_PLAIN}' THEN
        RETURN normalize(regexp_replace(name, '[{_IGNORED}]+', '', 'g'), NFC);
    END IF;
    RETURN name;
END $$
"""
    # A name folded and, where that is another text, in its own form behind a \u0001.
    name = f"""
CREATE OR REPLACE FUNCTION artstore_name(name text) RETURNS text {_HEAD} AS $$
DECLARE
    cased text := {lower_case("translate(artstore_visible(name), chr(1), ' ')")};
    folded text := artstore_folded(cased);
BEGIN
    RETURN folded || CASE WHEN cased <> folded THEN E'\\u0001' || cased ELSE '' END;
END $$
"""
    # What names are sorted by: a number by its length first.
    key = f"""
CREATE OR REPLACE FUNCTION artstore_name_key(name text) RETURNS text {_HEAD} AS $$
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
) {_HEAD} AS $$
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
) RETURNS integer[] {_HEAD} AS $$
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
                         OR left(one, 1) = ANY(letters) AND one !~ '^[{_UNSPACED}]'
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
        given {collate}, '([^{_WORD}]*)([{_WORD}][{_WORD}{_IGNORED}]*)', 'g') m
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
            ELSIF (initial = '' OR initial = ANY(letters) OR word {collate} ~ '^[{_UNSPACED}]')
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
    "artstore_vector", "artstore_weighted", "artstore_without",
)  # fmt: skip

_KEYS = ", ".join(
    f"left({column}, {KEY_CHARACTERS})" for column in ("media_type", "created_by", "namespace")
)
# The indexes of what the functions make; a search goes by it once they are there.
INDEXES = {
    f"{TABLE}_words": f"""USING gin (
        words, tag_keys, attributes jsonb_path_ops, {_KEYS},
        content_family, extension, storage_element_id) WITH (fastupdate = off)""",
    f"{TABLE}_name_key": "(name_key DESC, file_id DESC) WHERE state = 'active'",
}
# What was there before, once nobody asks for it: an index goes with its column.
DROP_OLD = (
    f"ALTER TABLE {TABLE} DROP COLUMN IF EXISTS search_vector",
    "DROP FUNCTION IF EXISTS artstore_search_vector, artstore_text",
    f"DROP INDEX IF EXISTS {TABLE}_uncut",
    f"""
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexrelid::regclass FROM pg_index
            WHERE indrelid = '{TABLE}'::regclass
              AND strpos(pg_get_indexdef(indexrelid), 'left(lower(original_filename)') > 0
        LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
    END $$
    """,
)
