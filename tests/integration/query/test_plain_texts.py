"""What is made of a plain text at once is what the functions that cut any text make of it."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.query.searching import Searched

# What stands between words, in them, and ends the plain: capitals, digits, other scripts.
_PIECES = st.sampled_from(
    ["report", "Reports", "the", "AGREED", "running", "a", "2024", "Q3", "v2", "CamelCase", "é",
     "ё", "I", "x" * 99, "y" * 101, " ", "  ", "_", "-", ".", "'", "\\", ":", "\t", "\n", "ﬁ",
     "日本"]
)  # fmt: skip
_TEXTS = st.lists(_PIECES, max_size=8).map("".join) | st.text(
    st.characters(max_codepoint=126, exclude_characters="\0"), max_size=130
)


async def test_a_plain_text_has_the_lexemes_that_it_has_by_all_steps(searched: Searched) -> None:
    loop = asyncio.get_running_loop()

    async def compare(texts: list[str]) -> None:
        rows = await searched.database.fetch(
            """
            SELECT given, artstore_weighted(given, 'B') AS made,
                   coalesce((SELECT array_to_string(words, ':1B ') || ':1B'
                             FROM (SELECT artstore_cut(given) AS words) cut
                             WHERE cardinality(words) > 0), '')::tsvector::text AS wanted
            FROM unnest($1::text[]) given
            """,
            texts,
        )
        for row in rows:
            assert str(row["made"]) == row["wanted"], row["given"]

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.lists(_TEXTS, min_size=1, max_size=10))
    def check(texts: list[str]) -> None:
        asyncio.run_coroutine_threadsafe(compare(texts), loop).result()

    await asyncio.to_thread(check)
