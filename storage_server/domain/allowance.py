"""How much of the mesh's room one account's open uploads may keep from others. Plain arithmetic.

Only what is reserved and not sent yet counts: what was sent is there. Of each element an account
may hold a share of the free room, which needs nobody's word, since shares of elements add up to
that share of the mesh. Beyond it, one upload may be of any size, and that at one element of the
mesh only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

# What one account leaves to others of an element's free room: else its one big upload would keep
# them out. Of an element where that would be next to nothing one upload may take all.
LEFT_TO_OTHERS_PERCENT = 5
MIN_LEFT_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Holding:
    """What an account's open uploads hold at one element. Sizes are bytes.

    Attributes:
        open_uploads: how many there are, whatever they hold.
        unsent_bytes: reserved for them and not sent yet.
        largest_bytes: the part of it that is of one upload.
        free_bytes: what no byte takes yet: still to be promised, or promised to anybody.
        undecided: some of it waits until other elements were asked.
    """

    open_uploads: int
    unsent_bytes: int
    largest_bytes: int
    free_bytes: int
    undecided: bool = False


class Verdict(Enum):
    """What an account may hold."""

    WITHIN_SHARE = "within its share"
    IF_NOWHERE_ELSE = "if it is within its share at every other element"
    TOO_MUCH = "too much"


def is_beyond_share(holding: Holding, percent: int) -> bool:
    """Whether an account holds more than its share of an element.

    Args:
        percent: the share, in whole per cents of the element's free room.
    """
    return holding.unsent_bytes * 100 > holding.free_bytes * percent


def judge(holding: Holding, percent: int) -> Verdict:
    """Whether an account may hold that much of one element.

    Args:
        percent: see `is_beyond_share`.
    """
    if not is_beyond_share(holding, percent):
        return Verdict.WITHIN_SHARE
    others = holding.unsent_bytes - holding.largest_bytes
    if others * 100 > holding.free_bytes * percent or _leaves_too_little(holding):
        return Verdict.TOO_MUCH
    return Verdict.IF_NOWHERE_ELSE


def _leaves_too_little(holding: Holding) -> bool:
    left = holding.free_bytes * LEFT_TO_OTHERS_PERCENT // 100
    if holding.unsent_bytes == holding.largest_bytes and left < MIN_LEFT_BYTES:
        return False
    return holding.unsent_bytes > holding.free_bytes - left


class Word(Enum):
    """What the other elements' answers come to."""

    GRANTED = "granted"
    ASK_AGAIN = "ask again"
    REFUSED = "refused"


def word_of_others(element_id: str, others: Iterable[tuple[str, Holding]], percent: int) -> Word:
    """Whether an account may be beyond its share here, by what it holds elsewhere.

    Whoever asks has put its own claim on its books before: of two that ask at the same time at
    least one sees the other, so never are both granted. The one of the lower id waits until the
    other has given up, or was granted by answers from before.

    Args:
        element_id: the one that asks.
        others: id and answer of each other element.
    """
    beyond = [(name, one) for name, one in others if is_beyond_share(one, percent)]
    if not beyond:
        return Word.GRANTED
    if all(one.undecided and name > element_id for name, one in beyond):
        return Word.ASK_AGAIN
    return Word.REFUSED
