"""SQL of the function that makes lexemes of one weight of a text; see `words`."""

from __future__ import annotations

HEAD = "LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT"
# Characters of a word that are looked at.
WORD_CHARACTERS = 100
# Where a part of a word of ASCII ends and the next one begins.
ASCII_BORDER = "[a-z][A-Z]|[A-Z]{2}[a-z]|[A-Za-z][0-9]|[0-9][A-Za-z]"


def weighted_function(lower_case: str) -> str:
    """SQL that makes it.

    Each lexeme has one position, since relevance goes by fields, not by how often a word is in.
    Plain texts are most, and calling the functions of `words` takes longer than what they do: what
    they would make of one is made here.

    Args:
        lower_case: SQL of the variable `plain` in lower case.
    """
    return f"""
CREATE OR REPLACE FUNCTION artstore_weighted(given text, weight text) RETURNS tsvector {HEAD} AS $$
DECLARE
    words text[];
    plain text;
    made text;
BEGIN
    IF given = '' THEN
        RETURN '';
    END IF;
    IF octet_length(given) = length(given) THEN
        plain := btrim(regexp_replace(given, '[^A-Za-z0-9]+', ' ', 'g'));
        IF plain = '' THEN
            RETURN '';
        END IF;
        IF plain !~ '{ASCII_BORDER}' THEN
            plain := {lower_case};
            IF octet_length(plain) = length(plain)
                AND (length(plain) <= {WORD_CHARACTERS} OR plain !~ '[^ ]{{{WORD_CHARACTERS + 1}}}')
            THEN
                words := string_to_array(plain, ' ');
                made := replace(plain, ' ', ':1' || weight || ' ') || ':1' || weight;
                IF translate(plain, '0123456789', '') <> plain THEN
                    plain := regexp_replace(plain, '[^ ]*[0-9][^ ]*', '', 'g');
                END IF;
                words := tsvector_to_array(
                    ts_delete(to_tsvector('pg_catalog.russian', plain), words));
                IF cardinality(words) > 0 THEN
                    made := made || ' -' || array_to_string(words, ':1' || weight || ' -')
                        || ':1' || weight;
                END IF;
                RETURN made::tsvector;
            END IF;
        END IF;
    END IF;
    words := artstore_cut(given);
    IF cardinality(words) = 0 THEN
        RETURN '';
    END IF;
    RETURN (array_to_string(words, ':1' || weight || ' ') || ':1' || weight)::tsvector;
END $$
"""
