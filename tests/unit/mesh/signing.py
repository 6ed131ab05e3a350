"""Signs tokens the way admin does, so that tests can also sign wrong ones."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.tokens import AUDIENCE, ISSUER, TOKEN_TYPE


class Signer:
    """One Ed25519 key with its kid."""

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
