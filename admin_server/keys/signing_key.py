"""One key pair that signs access tokens, or only the public half of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey


class UnusableKey(ValueError):
    """The PEM is broken or holds a key of a kind that we do not use; the message says which."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key by its `kid`.

    Attributes:
        public: verifies.
        private: signs; None for a key whose private half is somewhere else.
        signs_from: when it begins to sign; None if it never does.
        verifies_until: when it ends, if that was said; None: with the last token it may have
            signed, or never if it does not sign.
    """

    kid: str
    public: PublicKey
    private: PrivateKey | None = field(repr=False)
    signs_from: datetime | None
    verifies_until: datetime | None = None

    @property
    def algorithm(self) -> str:
        """`EdDSA` or `ES256`."""
        return "EdDSA" if isinstance(self.public, Ed25519PublicKey) else "ES256"

    def sign(self, claims: Mapping[str, Any], *, typ: str) -> str:
        """A JWT with these claims and that `typ`.

        Raises:
            UnusableKey: the private half is not here.
        """
        if self.private is None:
            raise UnusableKey(f"key {self.kid} has no private half here")
        return jwt.encode(
            dict(claims),
            self.private,
            algorithm=self.algorithm,
            headers={"kid": self.kid, "typ": typ},
        )

    def jwk(self) -> dict[str, Any]:
        """The public half as a JSON Web Key."""
        if isinstance(self.public, Ed25519PublicKey):
            members = OKPAlgorithm.to_jwk(self.public, as_dict=True)
        else:
            members = ECAlgorithm.to_jwk(self.public, as_dict=True)
        return {**members, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def public_pem(self) -> str:
        """The public half as PEM."""
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def private_pem(self) -> str | None:
        """The private half as PEM, not encrypted; None if it is not here."""
        if self.private is None:
            return None
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()


def new_signing_key(signs_from: datetime) -> SigningKey:
    """A fresh Ed25519 key pair with a random kid."""
    private = Ed25519PrivateKey.generate()
    return SigningKey(secrets.token_hex(8), private.public_key(), private, signs_from)


def signing_key_from_pem(
    kid: str, public_pem: str, private_pem: str | None, signs_from: datetime | None
) -> SigningKey:
    """The key that was kept as PEM.

    Raises:
        UnusableKey: it is neither Ed25519 nor P-256, or broken.
    """
    try:
        public = serialization.load_pem_public_key(public_pem.encode())
        private = (
            serialization.load_pem_private_key(private_pem.encode(), None) if private_pem else None
        )
    except (ValueError, TypeError) as exc:
        raise UnusableKey(f"key {kid} cannot be read: {exc}") from exc
    if not isinstance(public, Ed25519PublicKey) and not (
        isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    ):
        raise UnusableKey(f"key {kid} is neither Ed25519 nor P-256")
    if private is not None and not isinstance(private, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise UnusableKey(f"key {kid} has a private half of another kind")
    return SigningKey(kid, public, private, signs_from if private is not None else None)
