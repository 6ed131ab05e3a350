"""How long a snapshot that somebody asked for is waited for, over a table of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mesh.errors import Unavailable
from mesh.follower import fleet as fleets
from mesh.follower.fleet import FollowerFleet


class Table:
    """The cursors' table: each look at it is another failure, until the snapshot is done."""

    def __init__(self, *, failures: int) -> None:
        self._failures = failures
        self._looks = 0

    async def want_snapshot(self, element_id: str) -> int:
        return 1

    async def statuses(self) -> list[Any]:
        self._looks += 1
        done = self._looks > self._failures
        status = SimpleNamespace(
            element_id="se-01",
            done=1 if done else 0,
            failures=min(self._looks, self._failures),
            snapshot_files=7 if done else 0,
            snapshot_alive_at=None,
            last_error="UNAVAILABLE: refused",
        )
        return [status]


def fleet(table: Any) -> FollowerFleet:
    nothing: Any = None
    return FollowerFleet(
        table=table, elements=dict, open_channel=nothing, metadata=nothing, refused=nothing
    )


async def test_an_element_that_refuses_for_a_moment_is_still_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleets, "LOOK_SECONDS", 0.001)
    assert await fleet(Table(failures=10)).resync("se-01", seconds=30) == {"se-01": 7}


async def test_one_that_goes_on_refusing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(fleets, "FAILING_SECONDS", 0.02)
    with pytest.raises(Unavailable, match="refused"):
        await fleet(Table(failures=10**6)).resync("se-01", seconds=30)
