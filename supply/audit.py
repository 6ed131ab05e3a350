"""`python -m supply.audit`: known faults of what requirements/ names, and its licences.

Exit code 0: nothing was found. 1: a package has a known fault, or one that runs has no licence that
its files state, or one that binds whoever passes it on. 2: nothing was found, and not all could be
looked at, as without a network.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TOOLS = Path(".venv-tools/bin")
# dev.lock holds what server.lock, run.lock and build.lock do.
AUDITED = ("dev", "hints", "bench", "tools")
# Whoever passes on a program with such a part owes its source, or more.
_BINDING = re.compile(
    r"\b(?:A?GPL|SSPL|BUSL|Affero)|(?<!Lesser )General Public License", re.IGNORECASE
)
_UNKNOWN = "UNKNOWN"

FOUND_NOTHING, FOUND, UNABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Faults:
    """What the service that knows of faults answered.

    Attributes:
        audited: packages that it was asked about and knows.
        known: a line for each fault.
        unable: why it could not say anything about some or all, "" if it could.
    """

    audited: int = 0
    known: list[str] = field(default_factory=list)
    unable: str = ""


def locks(root: Path) -> list[Path]:
    """All lock files."""
    return sorted((root / "requirements").glob("*.lock"))


def look_for_faults(root: Path, arguments: Sequence[str]) -> Faults:
    """Ask pip-audit about all that is locked. Blocks for seconds.

    Args:
        arguments: for pip-audit, as `--vulnerability-service osv`.
    """
    answers = []
    for name in AUDITED:
        done = subprocess.run(
            [root / TOOLS / "pip-audit", "--requirement", root / f"requirements/{name}.lock",
             "--require-hashes", "--disable-pip", "--format", "json", "--desc", "off",
             "--progress-spinner", "off", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        answers.append(read_faults(done.stdout, done.stderr))
    return Faults(
        sum(answer.audited for answer in answers),
        sorted({line for answer in answers for line in answer.known}),
        "; ".join(dict.fromkeys(answer.unable for answer in answers if answer.unable)),
    )


def read_faults(output: str, errors: str) -> Faults:
    """What pip-audit says in JSON; where it says nothing, its last line is why."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        return Faults(unable=(lines or ["pip-audit said nothing"])[-1][:300])
    skipped = sorted({one["name"] for one in packages if "skip_reason" in one})
    looked_at = [one for one in packages if "skip_reason" not in one]
    known = {
        f"{one['name']} {one['version']}: {fault['id']}, mended in"
        f" {', '.join(fault['fix_versions']) or 'no version'}"
        for one in looked_at
        for fault in one["vulns"]
    }
    unable = ""
    if skipped and not looked_at:
        unable = "the index knows no package's faults"
    elif skipped:
        unable = f"it does not know {', '.join(skipped)}"
    return Faults(len(looked_at), sorted(known), unable)


def look_at_licences(root: Path) -> dict[str, str]:
    """The licence that each installed package states.

    Raises:
        RuntimeError: pip-licenses does not say.
    """
    done = subprocess.run(
        [root / TOOLS / "pip-licenses", "--python", str(root / ".venv/bin/python"),
         "--from", "mixed", "--format", "json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    try:
        return {_plain(one["Name"]): one["License"] for one in json.loads(done.stdout)}
    except ValueError as exc:
        raise RuntimeError(f"pip-licenses: {done.stderr.strip()[-300:]}") from exc


def locked_names(lock: Path) -> set[str]:
    """The packages that a lock file names."""
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock.read_text(), re.MULTILINE)
    return {_plain(name) for name in found}


def binding(licences: dict[str, str], running: Iterable[str]) -> list[str]:
    """A line for each package that runs whose licence is not stated, or binds."""
    lines = []
    for name in sorted(set(running) & licences.keys()):
        stated = licences[name]
        if stated == _UNKNOWN:
            lines.append(f"{name} states no licence")
        # Of several to choose from, one that does not bind will do.
        elif all(_BINDING.search(one) for one in stated.split(" OR ")):
            lines.append(f"{name} is under {stated}")
    return lines


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _print_faults(faults: Faults) -> int:
    print(f"known faults: {len(faults.known)} in {faults.audited} packages")
    for line in faults.known:
        print(f"  {line}")
    if faults.unable:
        print(f"  no more can be said from here, and none is ruled out: {faults.unable}")
    if faults.known:
        return FOUND
    return UNABLE if faults.unable else FOUND_NOTHING


def _print_licences(root: Path) -> int:
    try:
        licences = look_at_licences(root)
    except RuntimeError as failed:
        print(f"licences: could not be looked at: {failed}")
        return UNABLE
    running = locked_names(root / "requirements/run.lock")
    wrong = binding(licences, running)
    by_licence = defaultdict(list)
    locked = set().union(*map(locked_names, locks(root)))
    for name in sorted(locked & licences.keys()):
        by_licence[licences[name]].append(name if name in running else f"({name})")
    print("licences, as the packages state them; in brackets what only developing needs:")
    for licence, names in sorted(by_licence.items()):
        print(f"  {licence}: {' '.join(names)}")
    for line in wrong:
        print(f"  look at this: {line}")
    return FOUND if wrong else FOUND_NOTHING


def main(arguments: list[str]) -> int:
    """Print both, and return the exit code."""
    codes = {_print_faults(look_for_faults(ROOT, arguments)), _print_licences(ROOT)}
    return next(code for code in (FOUND, UNABLE, FOUND_NOTHING) if code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
