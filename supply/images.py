"""`python -m supply.images`: write the digest that a registry has behind each image's version.

All of them or none: where one registry does not answer, no file is changed. A version that is
written anew, by hand, without its digest, gets the new one.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).parents[1]
SECONDS = 10.0
# The index of all platforms first: its digest is good on each of them.
_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = r"sha256:[0-9a-f]{64}"
# `FROM name:version AS stage` and `image: name:version`; a variable or a stage has no version.
_NAMED = re.compile(
    rf"^((?:FROM|\s*image:) )([\w./:-]+:[\w.-]*\d[\w.-]*)(?:@{_DIGEST})?(?=\s|$)", re.MULTILINE
)


class NoDigest(Exception):
    """The message says which registry did not answer, and how."""


@dataclass(frozen=True, slots=True)
class Image:
    """Where an image is to be asked for."""

    origin: str
    repository: str
    version: str

    @classmethod
    def of(cls, name: str) -> Image:
        """Read `name:version` as Docker does: without a registry it is Docker's own."""
        path, _, version = name.removeprefix("docker.io/").rpartition(":")
        first, _, rest = path.partition("/")
        if rest and re.search(r"[.:]|^localhost$", first):
            # As Docker has it, a registry on this machine needs no TLS.
            local = re.match(r"localhost\b|127\.", first)
            return cls(f"{'http' if local else 'https'}://{first}", rest, version)
        repository = path if "/" in path else f"library/{path}"
        return cls("https://registry-1.docker.io", repository, version)


def files(root: Path) -> list[Path]:
    """Those that name images."""
    return [root / "Dockerfile", *sorted(root.glob("compose*.yaml"))]


def digest_of(name: str) -> str:
    """Ask the registry of `name:version`. Blocks for 10 s at most a request.

    Raises:
        NoDigest: it does not answer, or has no such image.
    """
    image = Image.of(name)
    url = f"{image.origin}/v2/{image.repository}/manifests/{image.version}"
    try:
        try:
            found = _head(url)
        except urllib.error.HTTPError as refused:
            challenge = refused.headers.get("WWW-Authenticate", "")
            if refused.code != 401 or not challenge.startswith("Bearer "):
                raise
            found = _head(url, _token(challenge))
    except (OSError, HTTPException, ValueError) as failed:
        raise NoDigest(f"{name}: {image.origin} gives no digest: {failed}") from failed
    if not re.fullmatch(_DIGEST, found):
        raise NoDigest(f"{name}: {image.origin} answers without a digest")
    return found


def _head(url: str, token: str = "") -> str:
    request = urllib.request.Request(url, headers={"Accept": _ACCEPTED}, method="HEAD")
    if token:
        # Not passed on when the registry leads elsewhere.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return str(answer.headers.get("Docker-Content-Digest", ""))


def _token(challenge: str) -> str:
    """What a registry's own account server gives to anybody who wants to read."""
    told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = told.pop("realm", "")
    if not re.match(r"https://|http://(?:localhost|127\.)", realm):
        raise ValueError(f"it asks for a token of {realm or 'nobody'}")
    with urllib.request.urlopen(f"{realm}?{urlencode(told)}", timeout=SECONDS) as answer:
        given = json.load(answer)
    return str(given.get("token") or given["access_token"])


def pin(root: Path) -> dict[str, str]:
    """Write the digests; return them by name and version.

    Raises:
        NoDigest: one is not to be had, and nothing was written.
    """
    texts = {file: file.read_text() for file in files(root)}
    names = sorted({found[1] for text in texts.values() for found in _NAMED.findall(text)})
    digests = {name: digest_of(name) for name in names}
    for file, text in texts.items():
        pinned = _NAMED.sub(lambda one: f"{one[1]}{one[2]}@{digests[one[2]]}", text)
        if pinned != text:
            file.write_text(pinned)
    return digests


def main() -> int:
    """Pin, and say what was pinned."""
    try:
        digests = pin(ROOT)
    except NoDigest as failed:
        print(f"{failed}; nothing was changed, the versions stay as they are", file=sys.stderr)
        return 1
    for name, digest in digests.items():
        print(f"{name}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
