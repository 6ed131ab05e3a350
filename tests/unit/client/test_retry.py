"""What a transfer does after each error, and when it gives up."""

from __future__ import annotations

import pytest

from artstore_client import errors
from artstore_client.calls.retry import (
    Backoff,
    Next,
    Patience,
    after_commit,
    after_download,
    after_stream,
    after_write,
)

ALL = [
    errors.InvalidArgument("x"),
    errors.NotFound("x"),
    errors.AlreadyExists("x"),
    errors.FailedPrecondition("x"),
    errors.Aborted("x"),
    errors.OutOfRange("x"),
    errors.ResourceExhausted("x"),
    errors.DataLoss("x"),
    errors.Unavailable("x"),
    errors.DeadlineExceeded("x"),
    errors.Internal("x"),
    errors.Unauthenticated("x"),
    errors.PermissionDenied("x"),
    errors.Unimplemented("x"),
    errors.SourceChanged("x"),
    errors.ConfigurationError("x"),
]


def names(*kinds: type[errors.ArtStoreError]) -> set[str]:
    return {kind.__name__ for kind in kinds}


def leading_to(step: Next, decide: object) -> set[str]:
    assert callable(decide)
    return {type(error).__name__ for error in ALL if decide(error) is step}


PASSING = names(errors.Unavailable, errors.DeadlineExceeded, errors.Internal)


def test_write_resumes_after_whatever_may_pass_or_left_the_rest_good() -> None:
    assert leading_to(Next.RESUME, after_write) == PASSING | names(
        errors.OutOfRange, errors.DataLoss
    )
    assert leading_to(Next.RESTART, after_write) == names(
        errors.NotFound,
        errors.PermissionDenied,
        errors.ResourceExhausted,
        errors.FailedPrecondition,
    )
    assert leading_to(Next.RENEW_TOKEN, after_write) == names(errors.Unauthenticated)


@pytest.mark.parametrize("reason", ["TOO_MANY_UPLOADS", "UPLOAD_SHARE"])
def test_an_accounts_limits_are_final(reason: str) -> None:
    assert after_write(errors.ResourceExhausted("x", reason=reason)) is Next.FAIL


@pytest.mark.parametrize("reason", ["TOO_MANY_CALLS", "NO_MESSAGE", "SILENCE", "STUCK_WRITE"])
def test_what_a_server_takes_no_more_of_at_this_moment_passes(reason: str) -> None:
    error = errors.ResourceExhausted("x", reason=reason)
    assert after_write(error) is Next.RESUME
    assert after_download(error) is Next.RESUME
    assert after_stream(error, bytes_sent=0) is Next.RESTART


def test_commit_takes_data_loss_as_final() -> None:
    assert after_commit(errors.DataLoss("x")) is Next.FAIL
    assert after_commit(errors.OutOfRange("x")) is Next.RESUME


def test_stream_begins_again_on_a_refusal_only_after_bytes_were_sent() -> None:
    refusal = errors.ResourceExhausted("full")
    assert after_stream(refusal, bytes_sent=0) is Next.FAIL
    assert after_stream(refusal, bytes_sent=1) is Next.RESTART
    assert leading_to(Next.RESTART, lambda error: after_stream(error, bytes_sent=0)) == PASSING


def test_download_resumes_after_whatever_may_pass() -> None:
    assert leading_to(Next.RESUME, after_download) == PASSING


def test_delays_double_up_to_the_most_and_are_spread() -> None:
    full = Backoff(first_seconds=1, most_seconds=5, spread=lambda: 1.0)
    half = Backoff(first_seconds=1, most_seconds=5, spread=lambda: 0.0)
    assert [full.delay() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert [half.delay() for _ in range(5)] == [0.5, 1, 2, 2.5, 2.5]


def test_progress_makes_the_next_delay_the_first_again() -> None:
    backoff = Backoff(first_seconds=1, most_seconds=5, spread=lambda: 1.0)
    backoff.delay()
    backoff.delay()
    backoff.reset()
    assert backoff.delay() == 1


@pytest.mark.parametrize(("asked", "waits"), [(1.0, 0.2), (3.0, 3.0), (60.0, 5.0)])
def test_server_may_ask_for_a_longer_wait_within_bounds(asked: float, waits: float) -> None:
    backoff = Backoff(spread=lambda: 1.0)
    assert backoff.delay(errors.Unavailable("x", retry_after_seconds=asked)) == waits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_patience_ends_without_progress_however_often_it_was_tried() -> None:
    clock = Clock()
    patience = Patience(120, clock=clock)
    clock.now += 119
    delay = patience.next_delay(errors.Unavailable("x"))
    assert delay is not None
    assert delay <= 1
    clock.now += 1
    assert patience.next_delay(errors.Unavailable("x")) is None


def test_patience_begins_anew_with_each_new_best_only() -> None:
    clock = Clock()
    patience = Patience(120, clock=clock)
    for _ in range(10):
        clock.now += 100
        patience.note(int(clock.now))
    assert patience.next_delay(errors.Unavailable("x")) is not None
    clock.now += 100
    patience.note(5)
    clock.now += 20
    assert patience.next_delay(errors.Unavailable("x")) is None


def test_bytes_that_are_kept_count_apart_from_bytes_that_are_sent() -> None:
    clock = Clock()
    patience = Patience(120, clock=clock)
    patience.note(1000, of="sent")
    clock.now += 100
    patience.note(500, of="kept")
    clock.now += 100
    assert patience.next_delay(errors.Unavailable("x")) is not None
