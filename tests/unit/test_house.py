"""How large things may get before they are divided."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "mesh",
    "storage_server",
    "ingest_server",
    "query_server",
    "admin_server",
    "artstore_client",
    "launch",
    "bench",
    "supply",
)
SERVERS = [package for package in PACKAGES if package.endswith("_server")]
MAX_ARGUMENTS = 7
MAX_APP_LINES = 120
MAX_MODULE_LINES = 450
# domain, store, catalog, locks, sidecars, writing, uploads, files, cache, upkeep, reporting,
# element, feed, rpc and wiring are fifteen.
MAX_STORAGE_ROOMS = 17
SUPPORT = Path("tests/support")
# What is imported from other folders though it is not in tests/support, and why.
NOT_SUPPORT = {
    # A program, `python -m tests.containers`, whose parts tests/unit/containers tests.
    Path("tests/containers"),
    # It lies beside the data that it is about.
    Path("tests/fixtures/upgrade"),
}
# They run in a checkout of the version whose data they made, and import its modules.
OF_AN_OLDER_VERSION = {
    Path("tests/fixtures/upgrade", f"{name}.py")
    for name in ("make", "killed", "population", "databases")
}


@cache
def _modules() -> dict[Path, str]:
    return {
        path.relative_to(ROOT): path.read_text()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@cache
def _classes() -> list[tuple[Path, ast.ClassDef]]:
    return [
        (path, node)
        for path, text in _modules().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    ]


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(one) for one in node.decorator_list)


def _waits(node: ast.ClassDef) -> bool:
    return any(isinstance(one, ast.AsyncFunctionDef) for one in node.body)


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """Those that are arguments of the constructor."""
    return [
        one
        for one in node.body
        if isinstance(one, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(one.annotation)
        and "init=False" not in ast.unparse(one)
    ]


def _names(annotation: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(annotation) if isinstance(one, ast.Name)}


@cache
def _services() -> frozenset[tuple[str, str]]:
    """(package, name) of the classes that wait for something, and of dataclasses that hold one
    or hold a function.

    Every other dataclass is a record, and may say as much as there is to say.
    """
    found = {(path.parts[0], node.name) for path, node in _classes() if _waits(node)}
    while more := {
        (path.parts[0], node.name)
        for path, node in _classes()
        if _is_dataclass(node)
        and (path.parts[0], node.name) not in found
        and any(
            name == "Callable" or {(path.parts[0], name), ("mesh", name)} & found
            for field in _fields(node)
            for name in _names(field.annotation)
        )
    }:
        found |= more
    return frozenset(found)


def _arguments(path: Path, node: ast.ClassDef) -> int:
    """How many the constructor has; 0 for a record."""
    if _is_dataclass(node):
        return len(_fields(node)) if (path.parts[0], node.name) in _services() else 0
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            named = one.args
            return len(named.posonlyargs) + len(named.args) + len(named.kwonlyargs) - 1
    return 0


def test_no_constructor_of_a_service_has_more_than_seven_arguments() -> None:
    found = {f"{path}: {node.name}": _arguments(path, node) for path, node in _classes()}
    assert {name: count for name, count in found.items() if count > MAX_ARGUMENTS} == {}


def _long(paths: Iterable[Path], limit: int) -> dict[str, int]:
    lines = {str(path): len(_modules()[path].splitlines()) for path in paths}
    return {path: count for path, count in lines.items() if count > limit}


def test_nothing_waits_in_a_way_that_may_lose_a_cancellation() -> None:
    """Python 3.11's `asyncio.wait_for` drops one that comes as what it waits for is done: a
    background task would go on, and its server would wait for it. `asyncio.timeout` does not.
    """
    found = [str(path) for path, text in _modules().items() if "asyncio.wait_for(" in text]
    assert found == []


def test_no_module_has_more_than_450_lines() -> None:
    assert _long(_modules(), MAX_MODULE_LINES) == {}


@pytest.mark.parametrize("server", SERVERS)
def test_what_a_server_is_made_of_is_told_in_120_lines(server: str) -> None:
    assert _long([Path(server, "app.py")], MAX_APP_LINES) == {}


def _dotted(path: Path) -> str:
    """The name by which a module is imported."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _imports() -> frozenset[tuple[str, str]]:
    """(module, one that it imports), `from package import module` taken apart."""
    known = {_dotted(path) for path in _modules()}
    named = {
        (_dotted(path), name)
        for path, text in _modules().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for one in node.names
        for name in (
            [f"{node.module}.{one.name}", node.module]
            if isinstance(node, ast.ImportFrom)
            else [one.name]
        )
    }
    # `from package import module` is of the module, not of what the package is made of.
    taken_apart = {(who, whom.rpartition(".")[0]) for who, whom in named if whom in known}
    return frozenset(
        (who, whom) for who, whom in named - taken_apart if whom in known and who != whom
    )


def test_no_package_and_the_package_around_it_import_each_other() -> None:
    """Linters of imports see siblings only. A server as a whole stands around its rooms."""
    packages = {_dotted(path) for path in _modules() if path.name == "__init__.py"}
    around = {one: one.rpartition(".")[0] for one in packages if one.count(".") > 1}
    room = {_dotted(path): _dotted(path.parent / "__init__.py") for path in _modules()}
    between = {(room[who], room[whom]) for who, whom in _imports()}
    assert [
        (inner, outer)
        for inner, outer in around.items()
        if {(inner, outer), (outer, inner)} <= between
    ] == []


def test_the_storage_server_has_few_rooms() -> None:
    rooms = {path.parts[1] for path in _modules() if path.match("storage_server/*/__init__.py")}
    assert len(rooms) <= MAX_STORAGE_ROOMS, sorted(rooms)


def _imported(tree: ast.AST) -> Iterator[Path]:
    """Modules of tests."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
        elif isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        for name in names:
            path = Path(*name.split(".")).with_suffix(".py")
            if path.parts[0] == "tests" and (ROOT / path).is_file():
                yield path


@cache
def _imports_of_tests() -> list[tuple[Path, Path]]:
    """(who imports, what) among the modules of tests."""
    paths = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))
    return [
        (path, imported)
        for path in paths
        if path not in OF_AN_OLDER_VERSION
        for imported in _imported(ast.parse((ROOT / path).read_text()))
    ]


def test_what_tests_of_several_folders_stand_on_is_in_support() -> None:
    assert any(imported.is_relative_to(SUPPORT) for _, imported in _imports_of_tests())
    assert [
        f"{path} imports {imported}"
        for path, imported in _imports_of_tests()
        if path.parent != imported.parent
        and not imported.is_relative_to(SUPPORT)
        and imported.parent not in NOT_SUPPORT
    ] == []


def test_no_test_stands_on_a_module_of_tests() -> None:
    assert [
        f"{path} imports {imported}"
        for path, imported in _imports_of_tests()
        if imported.name.startswith("test_")
    ] == []
