"""The version of the project, and what its lock files name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]


def locked(name: str) -> dict[str, str]:
    """Package and version of each line of a lock file; each has the hashes of its files."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    entries = re.split(r"^(?=[\w-])", text.replace("\\\n", ""), flags=re.MULTILINE)[1:]
    found = {}
    for entry in entries:
        requirement, *hashes = re.split(r"\s+--hash=", entry.strip())
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement
        name_and_version = requirement.partition(";")[0].strip()
        package, _, version = name_and_version.partition("==")
        found[canonicalize_name(package)] = version
    return found
