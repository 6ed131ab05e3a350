"""The element's phases: every move from every standing, and who may move."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

import storage_server
from mesh.errors import StoreReadOnly, Unavailable
from storage_server.domain.modes import Mode
from storage_server.element import phase
from storage_server.element.identity import ElementFile, encode
from storage_server.element.moves import Moves
from storage_server.element.phase import Move, Phase, Standing
from storage_server.element.state import Element
from tests.support.memory_store import MemoryStore

ROOT = Path(storage_server.__file__).parent
STORE_ID = "0b8f4a5e-1c9f-4f43-9a1f-6f5f0c8e7d11"


def the_table() -> dict[tuple[str, str], str]:
    """What the module's docstring says: (standing, move) to standing, `-` where it is refused."""
    assert phase.__doc__ is not None
    rows = [
        [cell.strip() for cell in line.split("|")]
        for line in phase.__doc__.splitlines()
        if "|" in line
    ]
    head, *moves = rows
    return {
        (before, row[0]): after
        for row in moves
        for before, after in zip(head[1:], row[1:], strict=True)
    }


TABLE = the_table()


def reachable() -> dict[str, Standing]:
    """All standings that moves lead to, by their names."""
    found: dict[str, Standing] = {}
    left = [Standing()]
    while left:
        standing = left.pop()
        if found.setdefault(str(standing), standing) is not standing:
            assert found[str(standing)] == standing, "two standings of one name"
            continue
        for move in Move:
            with suppress(RuntimeError):
                left.append(standing.after(move))
    return found


STANDINGS = reachable()


def test_the_table_has_every_standing_that_can_be_reached_and_every_move() -> None:
    assert set(STANDINGS) == {before for before, _ in TABLE}
    assert set(Move) == {move for _, move in TABLE}
    assert len(TABLE) == len(STANDINGS) * len(Move) == 49


@pytest.mark.parametrize(("before", "move"), TABLE)
def test_a_move_leads_where_the_table_says_or_is_refused(before: str, move: str) -> None:
    standing = STANDINGS[before]
    if TABLE[before, move] == "-":
        with pytest.raises(RuntimeError, match=move):
            standing.after(Move(move))
    else:
        assert str(standing.after(Move(move))) == TABLE[before, move]


def test_who_writes_has_store_lock_and_tables() -> None:
    for standing in STANDINGS.values():
        assert standing.is_writer <= standing.has_store
        assert standing.knows_past == (standing.phase is Phase.WRITING)
        if standing.phase is Phase.WRITING:
            assert standing.is_writer
            assert standing.has_tables


def an_element() -> tuple[Element, Moves]:
    element = Element("se-01", Mode.EDIT)
    return element, Moves(element)


def a_store() -> MemoryStore:
    return MemoryStore()


def of_store(mode: Mode = Mode.EDIT) -> ElementFile:
    return ElementFile("se-01", STORE_ID, mode)


def answers(element: Element) -> tuple[str, str, str]:
    """Why the element does not read, write or answer from rows; empty where it does."""

    def reason(ask: Callable[[], object]) -> str:
        try:
            ask()
        except Unavailable as exc:
            return exc.reason
        return ""

    return reason(element.reading), reason(element.writing), reason(element.require_tables)


async def test_an_element_says_what_it_cannot_do_yet_on_its_way_up() -> None:
    element, moves = an_element()
    assert answers(element) == ("STORAGE_DOWN", "STORAGE_DOWN", "DATABASE_DOWN")
    moves.tables_found()
    assert (element.phase, *answers(element)) == (Phase.CLOSED, "STORAGE_DOWN", "STORAGE_DOWN", "")
    moves.tables_gone()
    store = a_store()
    moves.store_opened(store, of_store())
    assert (element.phase, *answers(element)) == (Phase.OPEN, "", "NOT_WRITER", "DATABASE_DOWN")
    moves.lock_taken()
    assert (element.phase, *answers(element)) == (Phase.OPEN, "", "DATABASE_DOWN", "DATABASE_DOWN")
    moves.tables_found()
    assert (element.phase, *answers(element)) == (Phase.READING, "", "STARTING", "")
    moves.past_known()
    assert (element.phase, *answers(element)) == (Phase.WRITING, "", "", "")
    assert element.reading() is element.writing() is store


async def test_each_step_back_says_what_is_missing() -> None:
    element, moves = an_element()
    moves.store_opened(a_store(), of_store())
    moves.lock_taken()
    moves.tables_found()
    moves.past_known()
    moves.tables_gone()
    assert (element.phase, *answers(element)) == (Phase.OPEN, "", "DATABASE_DOWN", "DATABASE_DOWN")
    moves.tables_found()
    moves.past_known()
    moves.lock_lost()
    assert (element.phase, *answers(element)) == (Phase.READING, "", "NOT_WRITER", "")
    moves.store_closed("the server is stopping")
    assert (element.phase, *answers(element)) == (Phase.CLOSED, "STORAGE_DOWN", "STORAGE_DOWN", "")
    with pytest.raises(Unavailable, match="the server is stopping"):
        element.reading()


async def test_a_store_that_falls_silent_costs_no_phase() -> None:
    element, moves = an_element()
    store = a_store()
    moves.store_opened(store, of_store())
    moves.lock_taken()
    moves.tables_found()
    moves.past_known()
    with pytest.raises(Unavailable):
        # It has no element.json: another folder is mounted.
        await element.prove()
    assert (element.phase, element.storage_ok) == (Phase.WRITING, False)
    assert answers(element) == ("STORAGE_DOWN", "STORAGE_DOWN", "")
    await store.write_element(encode(of_store()))
    await element.prove()
    assert element.reading() is store
    assert element.storage_ok
    assert answers(element) == ("", "", "")


async def test_a_standby_follows_the_mode_and_the_writer_does_not() -> None:
    element, moves = an_element()
    store = a_store()
    moves.store_opened(store, of_store(Mode.RW))
    assert element.mode is Mode.RW
    await store.write_element(encode(of_store(Mode.RO)))
    await element.prove()
    assert element.mode is Mode.RO
    moves.lock_taken()
    await store.write_element(encode(of_store(Mode.AR)))
    await element.prove()
    assert element.mode is Mode.RO


async def test_others_hear_of_each_move() -> None:
    element, moves = an_element()
    for move in (
        lambda: moves.store_opened(a_store(), of_store()),
        moves.lock_taken,
        moves.tables_found,
        moves.past_known,
        moves.tables_gone,
        moves.lock_lost,
        lambda: moves.store_closed("it is away"),
    ):
        element.changed.clear()
        move()
        assert element.changed.is_set()
    element.changed.clear()
    moves.store_closed("it is away")
    assert not element.changed.is_set()


async def test_a_store_that_takes_no_writes_costs_no_phase() -> None:
    element, moves = an_element()
    moves.store_opened(a_store(), of_store())
    moves.lock_taken()
    moves.tables_found()
    moves.past_known()
    element.note_write(StoreReadOnly("its file system is read-only"))
    assert element.phase is Phase.WRITING
    assert answers(element) == ("", "", "")
    with pytest.raises(StoreReadOnly, match="its file system is read-only"):
        element.require_writes()


# --- who moves it ------------------------------------------------------------------------


def test_a_phase_is_moved_by_one_alone() -> None:
    element, _moves = an_element()
    with pytest.raises(RuntimeError, match="by its opening alone"):
        Moves(element)


@pytest.mark.parametrize("name", ["phase", "is_writer", "storage_ok", "problem"])
def test_nobody_sets_by_hand_what_moves_decide(name: str) -> None:
    element, _moves = an_element()
    with pytest.raises(AttributeError):
        setattr(element, name, True)


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """The storage server's, parsed."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text()))
        for path in sorted(ROOT.rglob("*.py"))
    ]


def imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_only_the_opening_imports_the_moves() -> None:
    movers = {
        module
        for module, tree in modules()
        if any(one.startswith("storage_server.element.moves") for one in imports(tree))
    }
    assert movers == {"element/opening.py"}


def private_moves(tree: ast.Module) -> set[str]:
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"_move", "_standing", "_take_mover", "_has_mover"}
    }


def test_nobody_goes_past_the_moves() -> None:
    assert {module for module, tree in modules() if private_moves(tree)} == {
        "element/moves.py",
        "element/state.py",
    }


def test_nobody_else_sets_attributes_of_the_element() -> None:
    setters = set()
    for module, tree in modules():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value).split(".")[-1] in {"element", "_element"}
            ):
                setters.add(module)
    assert setters == {"element/moves.py"}
