"""Where the walks start, and what may happen on them.

Each event may happen as often as its number says; steps, their answers, the minutes that pass, the
opening of closed elements and the emptying of trash are not counted.
"""

from __future__ import annotations

from tests.unit.life.small import EXPIRED, Small
from tests.unit.life.world import Scenario

ACTIVE = Small("active", 0, 1, 0)
COPY = Small("copy", 0, 1, 0)
EXPIRING = Small("active", 0, 1, EXPIRED)

_USER = {"update": 1, "delete": 1}
_SILENCE_OF_0 = {"cut:0": 1, "lapse": 1, "lose": 1, "return": 1}
_SILENCE_OF_1 = {"cut:1": 1, "lapse": 1, "lose": 1, "return": 1}
_RESTORE_0 = {"back up:0": 1, "restore:0": 1}
_RESTORE_1 = {"back up:1": 1, "restore:1": 1}
_DAY = {"day": 1}

TWO: dict[str, Scenario] = {
    "move, source silent": Scenario((ACTIVE, None), _USER | {"move:1": 1} | _SILENCE_OF_0 | _DAY),
    "move, target silent": Scenario((ACTIVE, None), _USER | {"move:1": 1} | _SILENCE_OF_1 | _DAY),
    "move, source restored": Scenario((ACTIVE, None), _USER | {"move:1": 1} | _RESTORE_0 | _DAY),
    "move, target restored": Scenario((ACTIVE, None), _USER | {"move:1": 1} | _RESTORE_1 | _DAY),
    "there and back, source restored": Scenario(
        (ACTIVE, None), {"update": 1, "move": 2} | _RESTORE_0 | _DAY
    ),
    "there and back, target restored": Scenario(
        (ACTIVE, None), {"update": 1, "move": 2} | _RESTORE_1 | _DAY
    ),
    "move, tables lost, cancelled": Scenario(
        (ACTIVE, None), _USER | {"move:1": 1, "tables lost": 1, "cancel": 1} | _DAY
    ),
    "move back, tables old": Scenario(
        (ACTIVE, None), _USER | {"move:0": 1, "tables old": 1} | _DAY, transfer=("move", 0, 1)
    ),
    "move and undelete": Scenario((ACTIVE, None), _USER | {"undelete": 1, "move:1": 1} | _DAY),
    "copy": Scenario((ACTIVE, COPY), _USER | {"undelete": 1} | _DAY, copies=2),
    "copy is made": Scenario((ACTIVE, None), _USER | {"undelete": 1} | _DAY, copies=2),
    "copy, home silent": Scenario(
        (ACTIVE, COPY), {"update": 2, "delete": 1} | _SILENCE_OF_0 | _DAY, copies=2
    ),
    "copy, home restored": Scenario(
        (ACTIVE, COPY), {"update": 2, "delete": 1} | _RESTORE_0 | _DAY, copies=2
    ),
    "copy, copy restored": Scenario(
        (ACTIVE, COPY), {"update": 2, "delete": 1} | _RESTORE_1 | _DAY, copies=2
    ),
    "copy, deleted home restored": Scenario(
        (ACTIVE, COPY), _USER | {"undelete": 1} | _RESTORE_0 | {"day": 2}, copies=2
    ),
    "bytes are lost": Scenario(
        (ACTIVE, COPY), _USER | {"lose bytes": 1, "move:1": 1} | _DAY, copies=2
    ),
    "move to the copy": Scenario(
        (ACTIVE, COPY), _USER | {"move:1": 1, "cut:0": 1, "return:0": 1} | _DAY, copies=2
    ),
    "erase, one lost": Scenario(
        (ACTIVE, COPY),
        {"update": 1, "erase": 1, "cut:0": 1, "cut:1": 1, "lapse": 1, "lose": 1, "return": 1},
        copies=2,
    ),
    "erase within a move": Scenario(
        (ACTIVE, None), {"update": 1, "move:1": 1, "erase": 1, "tables lost": 1}
    ),
    "erase, home restored": Scenario(
        (ACTIVE, COPY), {"update": 1, "erase": 1} | _RESTORE_0, copies=2
    ),
    "hold": Scenario(
        (ACTIVE, COPY),
        {"hold": 1, "delete": 1, "erase": 1, "release": 1, "move:1": 1},
        copies=2,
    ),
    "hold, home silent": Scenario(
        (ACTIVE, COPY), {"hold": 1, "delete": 1} | _SILENCE_OF_0, copies=2
    ),
    "expiry": Scenario(
        (EXPIRING, None), {"update": 1, "move:1": 1, "undelete": 1, "erase": 1} | _DAY
    ),
    "a folder was copied": Scenario((ACTIVE, ACTIVE), _USER | _DAY, closed=(1,)),
}
"""Two elements."""

THREE: dict[str, Scenario] = {
    "two moves, source silent": Scenario(
        (ACTIVE, None, None), _USER | {"move": 2, "cut:0": 1, "return:0": 1} | _DAY
    ),
    "two moves, cancelled, tables old": Scenario(
        (ACTIVE, None, None), _USER | {"move": 2, "cancel": 2, "tables old": 1} | _DAY
    ),
    "two moves, one silent": Scenario(
        (ACTIVE, None, None),
        {"delete": 1, "undelete": 1, "move": 2, "cut": 1, "lapse": 1, "return": 1, "day": 2},
    ),
    "two moves, first source restored, last target silent": Scenario(
        (ACTIVE, None, None),
        {"update": 1, "move": 2, "cut:2": 1, "return:2": 1} | _RESTORE_0 | _DAY,
    ),
    "two moves, one in between restored, last target silent": Scenario(
        (ACTIVE, None, None),
        {"update": 1, "move": 2, "cut:2": 1, "return:2": 1} | _RESTORE_1 | _DAY,
    ),
    "two moves, one restored, one lost": Scenario(
        (ACTIVE, None, None),
        {"move": 2, "cut": 1, "lapse": 1, "lose": 1, "return": 1} | _RESTORE_1,
    ),
    "move beside a copy, source silent": Scenario(
        (ACTIVE, COPY, None), _USER | {"move:2": 1} | _SILENCE_OF_0, copies=2
    ),
    "two moves beside a copy, tables lost": Scenario(
        (ACTIVE, COPY, None), {"update": 1, "move": 2, "tables lost": 1} | _DAY, copies=2
    ),
    "copy, home silent, a third pulls": Scenario(
        (ACTIVE, COPY, None), {"update": 2, "delete": 1} | _SILENCE_OF_0 | _DAY, copies=2
    ),
    "copies, home silent, tables lost": Scenario(
        (ACTIVE, COPY, COPY), {"update": 1, "tables lost": 1} | _SILENCE_OF_0 | _DAY, copies=3
    ),
    "copies, two silent, one lost": Scenario(
        (ACTIVE, COPY, COPY),
        {"update": 2, "cut": 2, "lapse": 2, "lose": 1, "return": 2},
        copies=3,
    ),
    "copies, two lost": Scenario(
        (ACTIVE, COPY, COPY), {"cut": 2, "lapse": 2, "lose": 2, "return": 2, "day": 1}, copies=3
    ),
    "copies, home restored, a copy silent": Scenario(
        (ACTIVE, COPY, COPY),
        {"update": 2, "delete": 1, "cut:1": 1, "return:1": 1} | _RESTORE_0,
        copies=3,
    ),
    "copies, copy restored, home lost": Scenario(
        (ACTIVE, COPY, COPY),
        {"update": 2, "delete": 1} | _SILENCE_OF_0 | _RESTORE_1,
        copies=3,
    ),
    "erase, one down and restored": Scenario(
        (ACTIVE, COPY, COPY),
        {"update": 1, "erase": 1, "cut:2": 1, "lapse": 1, "return": 1, "tables lost": 1}
        | {"back up:2": 1, "restore:2": 1},
        copies=3,
    ),
    "erase beside a move, one silent, tables lost": Scenario(
        (ACTIVE, COPY, None),
        {"update": 1, "erase": 1, "move:2": 1, "cut": 1, "lapse": 1, "return": 1}
        | {"tables lost": 1},
        copies=2,
    ),
    "hold beside a move": Scenario(
        (ACTIVE, COPY, None),
        {"hold": 1, "release": 1, "move:2": 1, "erase": 1, "delete": 1, "cut:1": 1, "return:1": 1},
        copies=2,
    ),
}
"""Three elements."""

LONG: dict[str, Scenario] = {
    "move, source restored": Scenario(
        (ACTIVE, None), {"update": 2, "delete": 1, "move:1": 1} | _RESTORE_0 | _DAY
    ),
    "move, target restored": Scenario(
        (ACTIVE, None), {"update": 2, "delete": 1, "move:1": 1} | _RESTORE_1 | _DAY
    ),
    "copy, home silent twice": Scenario(
        (ACTIVE, COPY),
        {"update": 2, "delete": 1, "undelete": 1, "cut": 2, "lapse": 2, "lose": 1, "return": 2},
        copies=2,
    ),
}
"""Two elements, and more of everything."""
