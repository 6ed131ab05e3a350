"""What a client says it waits for."""

from __future__ import annotations

from artstore_client import errors
from artstore_client.calls.retry import Patience
from artstore_client.calls.waiting import Waits
from artstore_client.cli.patience import sentence


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_call_without_an_answer_is_waited_for_until_something_moves() -> None:
    clock = Clock()
    waits = Waits(clock)
    assert waits.now() is None
    with waits.on("GetFile on se-01") as call:
        clock.now += 3
        waiting = waits.now()
        assert waiting is not None
        assert (waiting.what, waiting.why, waiting.seconds) == ("GetFile on se-01", "", 3)
        call.moved()
        clock.now += 1
        assert waits.now() is not None
        assert waits.now().seconds == 1  # type: ignore[union-attr]
        call.pause()
        assert waits.now() is None
    assert waits.now() is None


def test_failure_is_why_until_there_is_progress() -> None:
    clock = Clock()
    waits = Waits(clock)
    patience = Patience(120, clock=clock, waits=waits)
    patience.next_delay(errors.Unavailable("se-01 is down"))
    clock.now += 30
    patience.next_delay(errors.Unavailable("se-01 is still down"))
    waiting = waits.now()
    assert waiting is not None
    assert (waiting.why, waiting.seconds, waiting.seconds_left) == ("se-01 is still down", 30, 90)
    assert "30 s: se-01 is still down" in sentence(waiting)
    assert "90 s more" in sentence(waiting)
    patience.note(1)
    assert waits.now() is None


def test_what_was_given_up_is_not_waited_for() -> None:
    clock = Clock()
    waits = Waits(clock)
    patience = Patience(120, clock=clock, waits=waits)
    patience.next_delay(errors.Unavailable("down"))
    clock.now += 121
    assert patience.next_delay(errors.Unavailable("down")) is None
    assert waits.now() is None
