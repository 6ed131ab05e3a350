"""What the pages for developers name is there, and what comments cite is on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mesh", "storage_server", "ingest_server", "query_server", "admin_server")
PACKAGES += ("artstore_client", "launch")
CORRECTNESS = (ROOT / "docs/correctness.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/correctness.md")
RULES = {
    int(number): text
    for number, text in re.findall(
        r"^### (\d+)\. (.*?)(?=^##|\Z)", CORRECTNESS, re.MULTILINE | re.DOTALL
    )
}
CITED = re.compile(r"\bcorrectness (\d+(?:(?:,| and| to) \d+)*)")
# Pages that the repository has not got.
ELSEWHERE = re.compile(
    r"\b(?:trust|life|design|speed|traps|lessons|people|house|style)(?:\.md)?,?"
    r" (?:section )?[A-Z]?\d+(?:\.\d+)?\b"
)


def sources() -> Iterator[tuple[str, str]]:
    """Our code and protos, without what is made of them."""
    for folder in (*PACKAGES, "bench", "supply", "tests", "protos", "deploy"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".proto", ".toml", ".yaml") and path != Path(__file__):
                yield str(path.relative_to(ROOT)), path.read_text()


def numbers(cited: str) -> Iterator[int]:
    """Those of "2 to 4, 7 and 9"."""
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", cited):
        yield from range(int(first), int(last or first) + 1)


def test_every_rule_that_is_cited_is_on_the_page() -> None:
    cited = {
        (name, number)
        for name, text in sources()
        for found in CITED.findall(text)
        for number in numbers(found)
    }
    assert {number for _, number in cited} >= {1, 2, 3, 4, 7, 8}
    assert [one for one in sorted(cited) if one[1] not in RULES] == []


def test_nothing_is_cited_that_a_reader_has_not_got() -> None:
    found = [(name, cited) for name, text in sources() for cited in ELSEWHERE.findall(text)]
    assert found == []


def test_rules_are_numbered_in_order() -> None:
    assert list(RULES) == list(range(1, len(RULES) + 1))


@pytest.mark.parametrize("number", RULES)
def test_a_rule_names_what_keeps_it_and_what_holds_it(number: int) -> None:
    kept, held = (
        re.search(rf"^- {word} by: (.*?)(?=^- |\Z)", RULES[number], re.MULTILINE | re.DOTALL)
        for word in ("kept", "held")
    )
    assert kept is not None
    assert held is not None
    assert re.search(r"`[a-z_]+/[\w/]+\.py`", kept[1])
    assert re.search(r"`tests/[\w/]+\.py`", held[1])


def test_each_way_that_broke_the_rules_is_a_test_of_the_model_and_of_servers_that_can() -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", CORRECTNESS, re.MULTILINE)
    ways = {number for number, _ in rows}
    model, servers = (
        re.findall(r"^(?:async )?def (test_\w+)", (ROOT / name).read_text(), re.MULTILINE)
        for name in (
            "tests/unit/life/test_traces.py",
            "tests/integration/feed/test_life_traces.py",
        )
    )
    assert {number for name in model for number in re.findall(r"^test_(\d+)_", name)} == ways
    assert ways == {str(number) for number in range(1, 12)}
    named = [name for _, cell in rows for name in re.findall(r"`(test_\w+)`", cell)]
    assert sorted(named) == sorted(servers)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    """Named from the root, or from the part that the page is about."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`([\w./-]+(?:\.py|\.md|\.toml|\.lua|/))`", text))
    bases = (ROOT, *(ROOT / package for package in PACKAGES))
    assert {name for name in named if not any((base / name).exists() for base in bases)} == set()


def test_each_question_of_a_newcomer_has_one_answer() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| where is it decided? |")[2]
    answers = re.findall(r"^\| ([^|]+\?) \| `([^`|]+)` \|$", table, re.MULTILINE)
    assert len(dict(answers)) == len(answers) == 5
    for _, module in answers:
        assert (ROOT / module).is_file()


def rooms_on_the_page() -> set[str]:
    rooms = set()
    for table in re.findall(r"(?:^\|.*\n)+", ARCHITECTURE, re.MULTILINE):
        header = re.match(r"\| room of `(\w+)/`", table)
        if header is not None:
            rows = re.findall(r"^\| ((?:`[\w./]+`(?:, )?)+) \|", table, re.MULTILINE)
            names = [name for row in rows for name in re.findall(r"`([\w/]+)/`", row)]
            assert len(names) == len(set(names)), header[1]
            rooms |= {f"{header[1]}/{name}" for name in names}
    return rooms


def test_every_room_has_its_line() -> None:
    there = {
        f"{package}/{path.name}"
        for package in PACKAGES
        for path in (ROOT / package).iterdir()
        if path.is_dir() and any(path.rglob("*.py"))
    }
    assert rooms_on_the_page() == there


def test_pictures_show_modules_that_are_there() -> None:
    pictures = re.findall(r"^```mermaid\n(.*?)^```", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    assert len(pictures) == 5
    for picture in pictures:
        named = dict(re.findall(r"participant (\w+) as (\S+)", picture))
        declared = {*named, *re.findall(r"participant (\w+)$", picture, re.MULTILINE)}
        arrows = re.findall(r"^ +(\w+)--?>>(\w+): \S", picture, re.MULTILINE)
        assert ";" not in picture  # It would end a line.
        assert {name for arrow in arrows for name in arrow} == declared
        assert [path for path in named.values() if not (ROOT / path).is_file()] == []
