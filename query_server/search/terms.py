"""The text of a query as conditions of PostgreSQL's full text search.

The text is data: it is cut into words here, and a word holds letters and digits only, so no
operator, quote or wildcard of tsquery can come from outside.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MAX_WORDS = 16
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without repeats; at most MAX_WORDS of them."""
    seen: dict[str, None] = {}
    for match in _WORD.finditer(unicodedata.normalize("NFC", text).lower()):
        seen.setdefault(match.group()[:100])
    return list(seen)[:MAX_WORDS]


def tsquery(words: Sequence[str], first_parameter: int) -> tuple[str, list[str]]:
    """SQL of a tsquery that wants every word, as a prefix or by its stem.

    Returns the expression and its parameters, numbered from `first_parameter`.
    """
    pieces: list[str] = []
    parameters: list[str] = []
    for word in words:
        number = first_parameter + len(parameters)
        prefix, stem = f"to_tsquery('simple', ${number})", f"to_tsquery('russian', ${number + 1})"
        # A stem that is the word itself has its prefix; to look for both costs half as much more.
        pieces.append(
            f"CASE {stem}::text WHEN ${number + 1} THEN {prefix} ELSE {prefix} || {stem} END"
        )
        parameters += [f"'{word}':*", f"'{word}'"]
    return " && ".join(pieces), parameters


# Parameters: candidates and the query's words in ASCII, then those in other letters. The
# dictionaries are those that the configuration `russian` takes for them.
SAME_STEM = " UNION ALL ".join(
    f"""
    SELECT word FROM unnest(${first}::text[]) word
    WHERE ts_lexize('{dictionary}', word) && ARRAY(
        SELECT unnest(ts_lexize('{dictionary}', wanted)) FROM unnest(${first + 1}::text[]) wanted)
    """
    for first, dictionary in ((1, "english_stem"), (3, "russian_stem"))
)
# Parameters: candidates, the query's words.
SIMILAR_WORDS = """
    SELECT DISTINCT word FROM unnest($1::text[]) word, unnest($2::text[]) wanted
    WHERE similarity(word, wanted) >= 0.3
"""
