"""`artstore cache ...`: checks and repairs of the elements' caches."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from artstore.v1 import cache_pb2, operations_pb2
from artstore_client import CacheCalls, Client, errors
from artstore_client.cli import exit_codes, interrupts
from artstore_client.cli.as_json import as_json, enum_word
from artstore_client.cli.cache_summary import (
    advice_lines,
    cleanup_line,
    rebuild_line,
    report_lines,
)
from artstore_client.cli.completion import complete_element
from artstore_client.cli.left_behind import of_operation
from artstore_client.cli.output import (
    human_time,
    print_advice,
    print_json,
    print_line,
    print_table,
)
from artstore_client.cli.progress import operation_bar, operation_word
from artstore_client.cli.running import each, one_element, run_command

Answer = TypeVar("Answer")

app = typer.Typer(no_args_is_help=True, help="Check and repair the elements' caches (ADMIN).")


class Level(StrEnum):
    """How closely a check looks."""

    QUICK = "quick"
    FULL = "full"
    DEEP = "deep"


class Kind(StrEnum):
    """Kinds of locks."""

    REBUILD = "manual_rebuild"
    CHECK = "manual_check"
    LAZY = "lazy_rebuild"
    CLEANUP = "background_cleanup"


ElementOption = Annotated[
    str | None,
    typer.Argument(help="Id of the element; all if left out.", autocompletion=complete_element),
]
Wait = Annotated[
    float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait for a lock that is held.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON line for each element.")]


async def _watched(
    calls: CacheCalls, work: Callable[[str], Awaitable[Answer]], *, quiet: bool
) -> Answer:
    """Do `work` under a new operation id, and show its progress meanwhile."""
    operation_id = str(uuid.uuid4())
    left = interrupts.telling(lambda: of_operation(calls.element_id, operation_id))
    with left, operation_bar(quiet=quiet) as show:
        if show is None:
            return await work(operation_id)

        async def follow() -> None:
            with suppress(errors.ArtStoreError):
                async with aclosing(calls.watch(operation_id)) as progress:
                    async for news in progress:
                        show(news)

        following = asyncio.ensure_future(follow())
        try:
            return await work(operation_id)
        finally:
            following.cancel()
            await asyncio.wait([following])


def _for_elements(element: str | None, work: Callable[[CacheCalls], Awaitable[None]]) -> None:
    async def command(client: Client) -> int:
        async def one(element_id: str) -> None:
            await work(client.cache(element_id))

        return await each(await one_element(client, element), one)

    run_command(command)


@app.command()
def check(
    element: ElementOption = None,
    level: Annotated[Level, typer.Option(help="How closely to look.")] = Level.FULL,
    wait: Wait = 0.0,
    json: Json = False,
) -> None:
    """Compare rows with sidecars; ends with 1 if an element is inconsistent.

    What to do about each kind of finding is said on standard error.
    """
    number = cache_pb2.CheckLevel.Value(f"CHECK_LEVEL_{level.upper()}")
    inconsistent: list[str] = []

    async def work(calls: CacheCalls) -> None:
        report = await _watched(
            calls,
            lambda operation: calls.check(number, wait_seconds=wait, operation_id=operation),
            quiet=json,
        )
        if not report.is_consistent:
            inconsistent.append(calls.element_id)
        if json:
            print_json(as_json(report) | {"storage_element_id": calls.element_id})
        else:
            for line in report_lines(calls.element_id, report):
                print_line(line)
            for line in advice_lines(calls.element_id, report):
                print_advice(line)

    _for_elements(element, work)
    if inconsistent:
        raise typer.Exit(exit_codes.FAILURE)


@app.command()
def rebuild(
    element: ElementOption = None,
    max_delete_ratio: Annotated[
        float | None, typer.Option(min=0, max=1, help="Largest share of rows that may go; 0.1.")
    ] = None,
    restore_names: Annotated[
        bool, typer.Option("--restore-names", help="Give renamed files their names back.")
    ] = False,
    wait: Wait = 0.0,
    json: Json = False,
) -> None:
    """Make rows equal to sidecars."""

    async def work(calls: CacheCalls) -> None:
        result = await _watched(
            calls,
            lambda operation: calls.rebuild(
                wait_seconds=wait,
                max_delete_ratio=max_delete_ratio,
                restore_names=restore_names,
                operation_id=operation,
            ),
            quiet=json,
        )
        _print_rebuild(calls.element_id, result, json=json)

    _for_elements(element, work)


@app.command()
def incremental(element: ElementOption = None, wait: Wait = 0.0, json: Json = False) -> None:
    """Add what is missing and refresh what changed."""

    async def work(calls: CacheCalls) -> None:
        result = await _watched(
            calls,
            lambda operation: calls.incremental(wait_seconds=wait, operation_id=operation),
            quiet=json,
        )
        _print_rebuild(calls.element_id, result, json=json)

    _for_elements(element, work)


@app.command()
def cleanup(element: ElementOption = None, wait: Wait = 0.0, json: Json = False) -> None:
    """Remove expired rows; their files stay readable."""

    async def work(calls: CacheCalls) -> None:
        done = await _watched(
            calls,
            lambda operation: calls.cleanup(wait_seconds=wait, operation_id=operation),
            quiet=json,
        )
        if json:
            print_json(as_json(done) | {"storage_element_id": calls.element_id})
        else:
            print_line(cleanup_line(calls.element_id, done))

    _for_elements(element, work)


@app.command()
def watch(
    element: Annotated[str, typer.Argument(help="Id of the element.")],
    operation: Annotated[str, typer.Argument(help="Its id; the one that runs if left out.")] = "",
    json: Json = False,
) -> None:
    """Follow a check or rebuild until it ends."""

    async def work(calls: CacheCalls) -> None:
        with operation_bar(quiet=json) as show:
            last = None
            async with aclosing(calls.watch(operation)) as progress:
                async for last in progress:
                    if json:
                        print_json(last)
                    elif show is not None:
                        show(last)
        if last is not None and not json:
            state = enum_word(operations_pb2.OperationState.DESCRIPTOR, last.state)
            print_line(
                f"{last.operation_id}  {operation_word(last.kind)}  {state}  {last.error}".rstrip()
            )

    _for_elements(element, work)


@app.command()
def cancel(
    element: Annotated[str, typer.Argument(help="Id of the element.")],
    operation: Annotated[str, typer.Argument(help="Id of the operation.")],
) -> None:
    """Ask a check, rebuild or cleanup to stop."""

    async def work(calls: CacheCalls) -> None:
        state = await calls.cancel(operation)
        print_line(f"told; it was {enum_word(operations_pb2.OperationState.DESCRIPTOR, state)}")

    _for_elements(element, work)


@app.command()
def locks(element: ElementOption = None, json: Json = False) -> None:
    """Show locks that are held."""
    rows: list[tuple[str, ...]] = []

    async def work(calls: CacheCalls) -> None:
        for lock in await calls.locks():
            if json:
                print_json(as_json(lock) | {"storage_element_id": calls.element_id})
            rows.append(
                (
                    calls.element_id,
                    enum_word(cache_pb2.LockKind.DESCRIPTOR, lock.kind),
                    lock.file_id,
                    lock.holder,
                    str(lock.fence),
                    human_time(lock.acquired_at),
                    human_time(lock.expires_at),
                )
            )

    _for_elements(element, work)
    if not json:
        print_table(("element", "kind", "file", "holder", ">fence", "taken", "expires"), rows)


@app.command()
def unlock(
    element: Annotated[str, typer.Argument(help="Id of the element.")],
    kind: Annotated[Kind, typer.Argument(help="Kind of the lock.")],
    file_id: Annotated[str, typer.Option(help="The file of a lazy_rebuild.")] = "",
    fence: Annotated[int, typer.Option(min=0, help="Only if it has this fence.")] = 0,
    json: Json = False,
) -> None:
    """Take a lock away from its holder, which can then write no more."""
    number = cache_pb2.LockKind.Value(f"LOCK_KIND_{kind.upper()}")

    async def work(calls: CacheCalls) -> None:
        released = await calls.release(number, file_id=file_id, fence=fence)
        if json:
            print_json({"storage_element_id": calls.element_id, "released": released})
        else:
            print_line("released" if released else "there was none")

    _for_elements(element, work)


def _print_rebuild(element_id: str, result: cache_pb2.RebuildResult, *, json: bool) -> None:
    if json:
        print_json(as_json(result) | {"storage_element_id": element_id})
        return
    print_line(rebuild_line(element_id, result))
    for error in result.errors:
        print_line(f"  {error}")
