"""Limits of an account, on their way from admin to every server in a token."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.errors import Unauthenticated
from mesh.identity.limits import Limits
from mesh.identity.tokens import KeySet, TokenVerifier
from tests.support.token_issuer import Signer


@pytest.mark.parametrize(
    "limits",
    [Limits(), Limits(open_uploads=0), Limits(open_uploads=5, reserved_percent=100, calls=1)],
)
def test_a_claim_gives_back_the_limits_it_was_made_of(limits: Limits) -> None:
    assert Limits.of_claim(limits.claim()) == limits


def test_a_claim_says_only_what_differs_from_the_default() -> None:
    assert Limits().claim() == {}
    assert Limits(calls=7).claim() == {"calls": 7}


def test_what_a_newer_admin_says_besides_is_left_out() -> None:
    assert Limits.of_claim({"calls": 7, "searches": 3}) == Limits(calls=7)
    assert Limits.of_claim(None) == Limits()


@pytest.mark.parametrize("claim", [[], "7", {"calls": "7"}, {"calls": -1}, {"calls": True}, 7])
async def test_a_token_with_limits_that_make_no_sense_is_refused(claim: Any) -> None:
    signer, keys = Signer(), KeySet()
    keys.replace(signer.jwks())
    with pytest.raises(Unauthenticated) as refused:
        await TokenVerifier(keys).verify(signer.token(limits=claim))
    assert refused.value.reason == "TOKEN_INVALID"
