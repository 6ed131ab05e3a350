"""What an audit says of what its tools say, and with which exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from supply import audit

FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": []}
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
FAULTY = {"name": "faulty", "version": "1.0", "vulns": [FAULT]}
SKIPPED = {"name": "unheard-of", "skip_reason": "Dependency not found on PyPI"}
LICENCES = {"sound": "MIT", "both": "GPL-2.0-only OR MIT", "lesser": "LGPL-3.0-or-later"}
REFUSED = "requests.exceptions.ConnectionError: Failed to resolve 'pypi.org'"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose lock files name what its packages state licences of."""
    (tmp_path / "requirements").mkdir()
    for name in (*audit.AUDITED, "run"):
        lock = "".join(f"{package}==1.0 \\\n    --hash=sha256:00\n" for package in LICENCES)
        (tmp_path / f"requirements/{name}.lock").write_text(lock)
    monkeypatch.setattr(audit, "ROOT", tmp_path)
    return tmp_path


def tool(root: Path, name: str, said: object, errors: str = "") -> None:
    program = root / audit.TOOLS / name
    program.parent.mkdir(parents=True, exist_ok=True)
    answer = said if isinstance(said, str) else json.dumps(said)
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint({answer!r})\nprint({errors!r}, file=sys.stderr)\n"
    )
    program.chmod(0o755)


def licences(root: Path, stated: dict[str, str]) -> None:
    tool(root, "pip-licenses", [{"Name": n, "License": one} for n, one in stated.items()])


def test_nothing_found_is_0(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool(root, "pip-audit", {"dependencies": [SOUND]})
    licences(root, LICENCES)
    assert audit.main([]) == 0
    assert "known faults: 0 in 4 packages" in capsys.readouterr().out


def test_fault_is_named_with_its_cure_and_is_1(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool(root, "pip-audit", {"dependencies": [SOUND, FAULTY, SKIPPED]})
    licences(root, LICENCES)
    assert audit.main([]) == 1
    told = capsys.readouterr().out
    assert "faulty 1.0: PYSEC-2026-1, mended in 2.0" in told
    assert "unheard-of" in told


@pytest.mark.parametrize(
    ("answer", "errors", "told"),
    [
        ("", REFUSED, REFUSED),
        ({"dependencies": [SKIPPED]}, "", "knows no package's faults"),
        ({"dependencies": [SKIPPED, SOUND]}, "", "it does not know unheard-of"),
    ],
)
def test_what_can_not_be_looked_at_is_said_and_is_2(
    root: Path, capsys: pytest.CaptureFixture[str], answer: object, errors: str, told: str
) -> None:
    tool(root, "pip-audit", answer, errors)
    licences(root, LICENCES)
    assert audit.main([]) == 2
    said = capsys.readouterr().out
    assert "none is ruled out" in said
    assert told in said


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("UNKNOWN", "sound states no licence"),
        ("GNU Affero General Public License v3", "sound is under GNU Affero"),
        ("GPL-3.0-only", "sound is under GPL-3.0-only"),
        ("GNU General Public License v2 (GPLv2)", "sound is under GNU General"),
    ],
)
def test_licence_that_binds_whoever_passes_it_on_is_1(
    root: Path, capsys: pytest.CaptureFixture[str], licence: str, told: str
) -> None:
    tool(root, "pip-audit", {"dependencies": [SOUND]})
    licences(root, {**LICENCES, "sound": licence})
    assert audit.main([]) == 1
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    "licence", ["GNU Lesser General Public License v3 (LGPLv3)", "MPL-2.0", "LGPL-2.1-only"]
)
def test_licence_that_binds_its_own_files_only_is_listed(root: Path, licence: str) -> None:
    assert audit.binding({"sound": licence}, ["sound"]) == []
