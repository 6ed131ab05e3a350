"""The last change that was made through a client on each element: its searches wait for it."""

from __future__ import annotations


class ChangeTokens(dict[str, str]):
    """Change tokens by element id: of each element the latest."""

    def note(self, element_id: str, token: str) -> None:
        """Take the token of an answer: answers of calls side by side come in any order.

        Args:
            token: empty changes nothing.
        """
        if token and _is_later(token, self.get(element_id, "")):
            self[element_id] = token


def _is_later(token: str, known: str) -> bool:
    """Whether a change token is of a later change than the one known, as far as they tell."""
    history, _, sequence = token.rpartition(".")
    known_history, _, known_sequence = known.rpartition(".")
    if history != known_history or not (sequence.isdecimal() and known_sequence.isdecimal()):
        return True
    return int(sequence) > int(known_sequence)
