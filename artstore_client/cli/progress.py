"""Progress bars on standard error, when it is a terminal and nobody asked for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from artstore.v1.operations_pb2 import Operation, OperationKind, OperationPhase
from artstore_client.cli.as_json import enum_word
from artstore_client.cli.output import on_terminal
from artstore_client.cli.visible import visible
from artstore_client.results import Progress


@contextmanager
def transfer_bar(label: str, *, quiet: bool) -> Iterator[Progress | None]:
    """A bar of bytes with speed and time left; gives None when there is nobody to see it."""
    if quiet or not on_terminal():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(visible(label)[:40], total=None)

        def show(done: int, total: int | None) -> None:
            bars.update(task, completed=done, total=total)

        yield show


def operation_word(kind: OperationKind.ValueType) -> str:
    """What an operation does, as people say it: `full` for a full rebuild."""
    return enum_word(OperationKind.DESCRIPTOR, kind).removesuffix("_rebuild").replace("_", " ")


@contextmanager
def operation_bar(*, quiet: bool) -> Iterator[Callable[[Operation], None] | None]:
    """A bar of files for a check or rebuild; gives None when there is nobody to see it."""
    if quiet or not on_terminal():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f}/s, {task.fields[findings]} found"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("waiting", total=None, rate=0.0, findings=0)

        def show(news: Operation) -> None:
            phase = enum_word(OperationPhase.DESCRIPTOR, news.phase)
            bars.update(
                task,
                description=f"{operation_word(news.kind)}: {phase}",
                completed=news.done,
                total=news.total or None,
                rate=news.rate,
                findings=news.findings,
            )

        yield show
