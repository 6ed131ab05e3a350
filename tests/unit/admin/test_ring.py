"""Which key signs, which are published, and when the next is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from admin_server.keys.ring import PUBLISHED_AFTER, PUBLISHED_BEFORE, KeyRing
from admin_server.keys.signing_key import (
    UnusableKey,
    new_signing_key,
    signing_key_from_pem,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
ROTATION = timedelta(days=30)
SECOND = timedelta(seconds=1)


def kids(ring: KeyRing, now: datetime) -> set[str]:
    return {key["kid"] for key in ring.jwks(now)["keys"]}


def test_the_first_key_signs_at_once() -> None:
    ring = KeyRing()
    assert ring.signer(START) is None
    assert ring.next_begins(START, ROTATION) == START


def test_a_key_signs_from_its_time_until_the_next_one_does() -> None:
    first, second = new_signing_key(START), new_signing_key(START + ROTATION)
    ring = KeyRing([second, first])
    assert ring.signer(START - SECOND) is None
    assert ring.signer(START) is first
    assert ring.signer(START + ROTATION - SECOND) is first
    assert ring.signer(START + ROTATION) is second


def test_the_next_key_is_due_early_enough_to_be_published() -> None:
    ring = KeyRing([new_signing_key(START)])
    due = START + ROTATION - PUBLISHED_BEFORE
    assert ring.next_begins(due - SECOND, ROTATION) is None
    assert ring.next_begins(due, ROTATION) == START + ROTATION


def test_a_late_rotation_still_publishes_before_it_signs() -> None:
    ring = KeyRing([new_signing_key(START)])
    late = START + 3 * ROTATION
    assert ring.next_begins(late, ROTATION) == late + PUBLISHED_BEFORE


def test_a_key_waiting_to_sign_is_not_made_twice() -> None:
    ring = KeyRing([new_signing_key(START), new_signing_key(START + ROTATION)])
    assert ring.next_begins(START + ROTATION - SECOND, ROTATION) is None


def test_a_key_is_published_for_as_long_as_its_last_token_lives() -> None:
    first, second = new_signing_key(START), new_signing_key(START + ROTATION)
    ring = KeyRing([first, second])
    last = START + ROTATION + PUBLISHED_AFTER
    assert timedelta(seconds=86400) <= PUBLISHED_AFTER
    assert kids(ring, START) == {first.kid, second.kid}
    assert kids(ring, last - SECOND) == {first.kid, second.kid}
    assert kids(ring, last) == {second.kid}
    assert ring.outlived(last) == [first]


def test_a_key_that_was_replaced_ends_when_it_was_said_to() -> None:
    end = START + timedelta(minutes=15)
    first = replace(new_signing_key(START - ROTATION), verifies_until=end)
    ring = KeyRing([first, new_signing_key(START)])
    assert len(kids(ring, end - SECOND)) == 2
    assert ring.outlived(end) == [first]
    assert first.kid not in kids(ring, end)


def test_a_key_without_its_private_half_is_published_and_never_signs() -> None:
    whole = new_signing_key(START)
    half = signing_key_from_pem("half", whole.public_pem(), None, START)
    ring = KeyRing([half])
    assert ring.signer(START) is None
    assert kids(ring, START + 100 * ROTATION) == {"half"}
    with pytest.raises(UnusableKey):
        half.sign({}, typ="at+jwt")


def test_a_key_survives_being_kept_as_pem() -> None:
    key = new_signing_key(START)
    again = signing_key_from_pem(key.kid, key.public_pem(), key.private_pem(), START)
    assert again.jwk() == key.jwk()
    assert again.sign({"sub": "x"}, typ="t") == key.sign({"sub": "x"}, typ="t")


def test_a_private_half_does_not_show_in_logs() -> None:
    assert "PrivateKey" not in repr(new_signing_key(START))
