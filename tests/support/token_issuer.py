"""Stands for admin where tokens are concerned: signs them as it does, and gives them out."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artstore.v1 import tokens_pb2, tokens_pb2_grpc
from mesh.calls.status import rule_for, to_trailing_metadata
from mesh.contract import AUTHORIZATION_KEY
from mesh.errors import ArtStoreError
from mesh.identity.tokens import AUDIENCE, ISSUER, TOKEN_TYPE


class Signer:
    """One Ed25519 key with its kid; `changes` of what it signs make wrong tokens."""

    def __init__(self, kid: str = "k1") -> None:
        self.kid = kid
        self.key = Ed25519PrivateKey.generate()

    def jwks(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": self.kid, "alg": "EdDSA", "use": "sig"}]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "sub": "alice",
            "role": "USER",
            "aud": AUDIENCE,
            "iss": ISSUER,
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            "jti": "t1",
        }
        claims.update(changes)
        return {key: value for key, value in claims.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A good token; `changes` replace claims, None leaves one out."""
        headers = {"kid": self.kid, "typ": TOKEN_TYPE} | (header or {})
        return jwt.encode(self.claims(**changes), self.key, algorithm="EdDSA", headers=headers)


def bearer_of(context: Any) -> str:
    """The token that a call came with, "" if none."""
    header: str = dict(context.invocation_metadata()).get(AUTHORIZATION_KEY, "")
    return header.removeprefix("Bearer ")


class TokenIssuer(tokens_pb2_grpc.TokenServiceServicer):
    """Gives tokens of role SERVICE to whoever asks; without a signer, numbered words.

    Attributes:
        issued: how many were asked for.
        lives_seconds: what it says of each.
        refusal: ends the next calls instead.
    """

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer
        self.issued = 0
        self.lives_seconds = 900
        self.refusal: ArtStoreError | None = None

    async def IssueToken(self, request: Any, context: Any) -> Any:
        self.issued += 1
        if self.refusal is not None:
            await refuse(context, self.refusal)
        token = f"bearer-{self.issued}"
        if self.signer is not None:
            token = self.signer.token(
                sub=request.client_id,
                role="SERVICE",
                ns_read=["*"],
                ns_write=["*"],
                aud=request.audience or AUDIENCE,
            )
        return tokens_pb2.IssueTokenResponse(
            access_token=token, token_type="Bearer", expires_in_seconds=self.lives_seconds
        )

    async def GetJwks(self, request: Any, context: Any) -> Any:
        assert self.signer is not None
        return tokens_pb2.GetJwksResponse(jwks_json=json.dumps(self.signer.jwks()))


async def refuse(context: Any, error: ArtStoreError) -> None:
    """End the call as a server of the mesh does."""
    await context.abort(rule_for(error).code, error.message, to_trailing_metadata(error))
