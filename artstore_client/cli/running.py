"""Runs one command: connects, turns errors into lines and exit codes, ends cleanly on Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import typer

from artstore_client import Client, ConfigurationError, errors
from artstore_client.calls.calls import Timeouts
from artstore_client.cli import exit_codes, interrupts, own_changes
from artstore_client.cli.limits import Limits, limits
from artstore_client.cli.output import print_error
from artstore_client.cli.patience import WaitTeller, sentence

Command = Callable[[Client], Awaitable[int | None]]


def run_command(command: Command) -> None:
    """Run `command` with a connected client.

    Raises:
        typer.Exit: with the code it answered, that of the error it raised, or that of a signal.
    """
    try:
        code = interrupts.run(_connected(command))
    except exit_codes.EXPECTED as error:
        print_error(error)
        raise typer.Exit(exit_codes.code_of(error)) from None
    if code:
        raise typer.Exit(code)


async def _connected(command: Command) -> int | None:
    told = limits()
    async with (
        Client.connect(retry_for_seconds=retry_for_seconds(told)) as client,
        _limited(client, told.timeout_seconds),
    ):
        try:
            return await command(client)
        finally:
            own_changes.remember(client.mesh_id, client.change_tokens)


def retry_for_seconds(told: Limits) -> float:
    """How long what fails is tried again without progress."""
    if not told.retry:
        return 0.0
    return Timeouts().retry_for if told.timeout_seconds is None else told.timeout_seconds


@asynccontextmanager
async def _limited(client: Client, seconds: float | None) -> AsyncIterator[None]:
    """Say what is waited for, and end after `seconds`.

    Raises:
        DeadlineExceeded: the time that the user gave is over.
    """
    teller = WaitTeller(lambda: client.waiting)
    telling = asyncio.create_task(teller.run())
    try:
        async with asyncio.timeout(seconds) as end:
            yield
    except TimeoutError:
        if not end.expired():
            raise
        last = f", {sentence(teller.last)}" if teller.last is not None else ""
        raise errors.DeadlineExceeded(
            f"not done after --timeout {seconds:g} s{last}", reason="TIMEOUT"
        ) from None
    finally:
        telling.cancel()


async def one_element(client: Client, element_id: str | None) -> list[str]:
    """The element that was named, else all.

    Raises:
        ConfigurationError: none such is known.
    """
    known = await client.element_ids()
    if element_id is None:
        return known
    if element_id not in known:
        raise ConfigurationError(f"no storage element {element_id!r}; known are {', '.join(known)}")
    return [element_id]


async def each(items: list[str], work: Callable[[str], Awaitable[None]]) -> int:
    """Do `work` for every item, go on after errors, answer the exit code of all."""
    codes = []
    for item in items:
        try:
            await work(item)
            codes.append(exit_codes.OK)
        except exit_codes.EXPECTED as error:
            print_error(error, about=item)
            codes.append(exit_codes.code_of(error))
    return exit_codes.worst(codes)
