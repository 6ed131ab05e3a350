"""Which files `artstore put` takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer

from artstore_client.cli.put import parse_attributes
from artstore_client.cli.walk import Item, items_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "проект"
    (top / "b").mkdir(parents=True)
    (top / "a.txt").write_text("a")
    (top / "b" / "🎉.txt").write_text("b")
    (top / "b" / "again").symlink_to(top)
    (top / "gone").symlink_to(top / "nothing")
    os.mkfifo(top / "pipe")
    return top


def relatives(path: str) -> list[str]:
    return [item.relative for item in items_of(path, recursive=True) if isinstance(item, Item)]


def test_folder_is_walked_in_order_with_relative_paths(folder: Path) -> None:
    assert relatives(str(folder)) == ["проект/a.txt", "проект/b/🎉.txt"]


def test_path_of_the_working_folder_is_named_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert relatives(".") == ["проект/a.txt", "проект/b/🎉.txt"]
    monkeypatch.chdir(folder / "b")
    assert relatives("..")[0] == "проект/a.txt"


def test_file_is_taken_without_a_relative_path(folder: Path) -> None:
    path = folder / "a.txt"
    assert list(items_of(str(path), recursive=False)) == [Item(path)]


def test_folder_without_the_option_is_an_error_that_names_it(folder: Path) -> None:
    (error,) = items_of(str(folder), recursive=False)
    assert isinstance(error, IsADirectoryError)
    assert "-r" in str(error)


def test_name_that_is_no_utf8_is_carried_as_text(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    with open(os.fsencode(top) + b"/bad\xff.txt", "w") as file:  # noqa: PTH123 - a name in bytes
        file.write("x")
    assert relatives(str(top)) == ["top/bad\N{REPLACEMENT CHARACTER}.txt"]


def test_attributes_are_split_at_the_first_equals_sign() -> None:
    assert parse_attributes(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(typer.BadParameter):
        parse_attributes(["novalue"])
