"""Whose followers don't know all states of a file, as the element remembers it."""

from __future__ import annotations

from storage_server.feed.known_states import REMEMBERED_SECONDS, FollowersBehind


class HandClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_follower_that_does_not_know_all_states_is_named_for_a_day_after_it_left() -> None:
    clock = HandClock()
    behind = FollowersBehind(clock)
    with behind.following("query", knows_all=False), behind.following("admin", knows_all=True):
        clock.now += 2 * REMEMBERED_SECONDS
        assert behind.names() == ("query",)
    clock.now += REMEMBERED_SECONDS - 1
    assert behind.names() == ("query",)
    clock.now += 1
    assert behind.names() == ()


def test_an_upgraded_follower_stands_for_its_account_once_none_of_it_is_behind() -> None:
    behind = FollowersBehind()
    with behind.following("query", knows_all=False), behind.following("query", knows_all=True):
        assert behind.names() == ("query",)
    assert behind.names() == ("query",)
    with behind.following("query", knows_all=True):
        assert behind.names() == ()
    assert behind.names() == ()
