"""The words of a query, as PostgreSQL cuts them, and what matches them.

What a lexeme is, and what the mark in front of one says: `query_server.migrations.words`. The
words are data: each one is a quoted lexeme here, so no operator or wildcard of tsquery can come
from outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_WORDS = 16
WHOLE, FOLDED, PART, STEM = "", "~", ".", "-"
# Relevance of a word by its field: the first of them decides, whatever the others say.
_WEIGHTS = "'{0.001, 0.01, 0.1, 1}'::float4[]"


def _any(marks: Iterable[str], words: Iterable[str], prefix: str = "") -> str:
    """tsquery: one of the words, marked in one of these ways."""
    quoted = [f"{mark}{word}".replace("\\", r"\\").replace("'", "''") for word in words
              for mark in marks]  # fmt: skip
    return " | ".join(f"'{one}'{prefix}" for one in quoted)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query.

    Attributes:
        word: as it stands, in lower case.
        folded: case folded, without accents; more than one where that takes it apart.
        stems: of `folded`, where they are other words.
        parts: of a word that is cut further, each folded, in their order, and beside each its
            stem or ''. Of the last one a beginning is typed.
    """

    word: str
    folded: Sequence[str]
    stems: Sequence[str]
    parts: Sequence[str]
    part_stems: Sequence[str]

    @property
    def ways(self) -> tuple[str, str, str, str]:
        """tsqueries by which a word of a file may be it: exactly, but for accents, in another
        grammatical form, or by a part; a beginning is a part.
        """
        plain = self.folded or (self.word,)
        begins = [_any((WHOLE, FOLDED, PART), (one,), ":*") for one in plain]
        others = (_all(begins), _any((PART,), self.stems), self._by_parts)
        return (
            _any((WHOLE,), (self.word,)),
            _all([_any((WHOLE, FOLDED), (one,)) for one in plain]),
            _any((WHOLE, FOLDED, STEM), self.stems or plain),
            " | ".join(filter(None, (_any((WHOLE,), (self.word,), ":*"), *others))),
        )

    @property
    def matching(self) -> str:
        """tsquery of all ways at once: what begins with it need not be looked for again."""
        plain = self.folded or (self.word,)
        begins = _all([_any((WHOLE, FOLDED, PART), (one,), ":*") for one in plain])
        exact = "" if tuple(plain) == (self.word,) else _any((WHOLE,), (self.word,), ":*")
        forms = self._forms(*self.stems) or _any((STEM,), plain)
        return " | ".join(filter(None, (begins, exact, forms, self._by_parts)))

    @property
    def _by_parts(self) -> str:
        parts = list(zip(self.parts, self.part_stems, strict=True))
        return _all(
            [
                f"{self._part(n)} | {self._forms(stem or part)}"
                for n, (part, stem) in enumerate(parts)
            ]
        )

    def _part(self, number: int) -> str:
        last = number == len(self.parts) - 1
        return _any((WHOLE, FOLDED, PART), (self.parts[number],), ":*" if last else "")

    @property
    def pieces(self) -> str:
        """tsquery of whatever is a match by itself, for marking."""
        words = (self.word, *self.folded)
        stems = (*(self.stems or self.folded or words), *self.part_stems, *self.parts)
        return " | ".join(
            filter(
                None,
                (
                    _any((WHOLE, FOLDED, PART), words, ":*"),
                    *map(self._part, range(len(self.parts))),
                    self._forms(*stems),
                ),
            )
        )

    @staticmethod
    def _forms(*stems: str) -> str:
        return _any((WHOLE, FOLDED, STEM, PART), filter(None, stems))


def _all(queries: Sequence[str]) -> str:
    return " & ".join(f"({query})" for query in queries)


@dataclass(frozen=True, slots=True)
class Terms:
    """The distinct words of a query, at most MAX_WORDS."""

    words: Sequence[Word] = ()

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]]) -> Terms:
        """From rows of `artstore_terms`."""
        return cls([Word(**row) for row in found])

    def __bool__(self) -> bool:
        return bool(self.words)

    @property
    def matching(self) -> str:
        """tsquery of what has every word in one of its ways."""
        return _all([word.matching for word in self.words])

    @property
    def plain(self) -> str:
        """The words, for what only resembles them."""
        return " ".join(word.word for word in self.words)

    @property
    def marking(self) -> str:
        """tsquery of what is marked."""
        return " | ".join(word.pieces for word in self.words)

    @property
    def letters(self) -> list[str]:
        """What a word that matches begins with."""
        return sorted(
            {
                one[0]
                for word in self.words
                for one in (*word.folded, *word.stems, *word.parts, *word.part_stems, word.word)
                if one
            }
        )

    def relevance(self, column: str, parameters: Sequence[Sequence[str]]) -> str:
        """SQL of how well a row matches, above 0 to 1: the best way of each word counts, and for
        each the fields that it is in that way.

        Args:
            parameters: for each word the placeholders of its ways.
        """
        ranks = []
        for ways in parameters:
            *cases, last = (f"{way}::text::tsquery" for way in ways)
            whens = " ".join(
                f"WHEN {column} @@ {way} THEN {4 - n} + ts_rank({_WEIGHTS}, {column}, {way})"
                for n, way in enumerate(cases)
            )
            ranks.append(f"CASE {whens} ELSE 1 + ts_rank({_WEIGHTS}, {column}, {last}) END")
        return f"(({' + '.join(ranks)}) / {5 * len(ranks)})"
