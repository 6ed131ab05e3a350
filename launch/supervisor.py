"""Keeps programs running: starts them, starts them again when they die, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil

from launch import processes
from launch.forked import ForkedProcess, ForkServer, ForkServerGone
from launch.processes import Identity
from mesh.concurrency.backoff import Backoff
from mesh.concurrency.watched import cancel_and_wait

# A program that was killed is back at once; one that ends by itself soon after its start has a
# reason that will not go away, so it is tried less and less often.
_DELAY_SECONDS = 0.2
_FIRST_DELAY_SECONDS = 0.4
_LONGEST_DELAY_SECONDS = 10.0
_SHORT_LIFE_SECONDS = 30.0
_FAILURES_IN_VAIN = 4
_READY_POLL_SECONDS = 0.05
# How long a program may take to end before it is killed.
_STOP_SECONDS = 10.0


def _backoff() -> Backoff:
    """Not spread: people are told when a program is started again."""
    return Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS, spread=lambda: 1.0)


@dataclass(frozen=True, slots=True)
class Execution:
    """What is executed at each start of a program.

    Args:
        command: gives the command line, at each start.
        environment: the whole environment.
        log: file that the output is appended to.
        module: what the command runs by `python -m`, "" for another program; it may be forked.
        prepare: what each start needs; blocking, run in a thread.
    """

    command: Callable[[], list[str]]
    environment: Mapping[str, str]
    log: Path
    module: str = ""
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Program:
    """One program to keep running.

    Args:
        name: its name in mesh.json and of its log.
        execution: how it is started.
        ready: says whether it answers.
        stop_signal: asks it to end.
    """

    name: str
    execution: Execution
    ready: Callable[[], Awaitable[bool]]
    stop_signal: int = signal.SIGTERM


@dataclass(slots=True)
class _Running:
    program: Program
    backoff: Backoff = field(init=False, default_factory=_backoff)
    process: asyncio.subprocess.Process | ForkedProcess | None = None
    started: float = 0.0
    failures: int = 0
    last_exit: int | None = None
    watcher: asyncio.Task[None] | None = None
    stopping: bool = field(default=False, init=False)
    ready: bool = field(default=False, init=False)


class Supervisor:
    """The programs of one run.

    Args:
        restart: start a program again when it dies.
        changed: called with the identities of all live processes whenever one starts.
        say: prints one line for the person at the terminal.
        fork_server: starts the programs that are modules.
    """

    def __init__(
        self,
        *,
        restart: bool,
        changed: Callable[[Mapping[str, Identity]], None],
        say: Callable[[str], None],
        fork_server: ForkServer | None = None,
    ) -> None:
        self._fork_server = fork_server
        self._restart = restart
        self._changed = changed
        self._say = say
        self._running: dict[str, _Running] = {}

    async def start(self, program: Program) -> None:
        """Start a program and keep it running from now on; does not wait until it answers."""
        running = _Running(program)
        self._running[program.name] = running
        await self._spawn(running)
        running.watcher = asyncio.create_task(self._watch(running), name=program.name)

    async def wait_ready(self, names: Sequence[str], seconds: float) -> list[str]:
        """Wait until the programs answer; returns those that do not within `seconds`.

        Returns early when one of them keeps ending by itself.
        """
        waiting = {name: asyncio.create_task(self._until_ready(name)) for name in names}
        try:
            await asyncio.wait(
                waiting.values(), timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
            )
            done = {name for name, task in waiting.items() if task.done() and not task.exception()}
            return [name for name in names if name not in done]
        finally:
            await cancel_and_wait(*waiting.values())

    def not_ready(self, names: Sequence[str]) -> list[str]:
        """Return those of the programs that have not answered yet."""
        return [name for name in names if not self._running[name].ready]

    def identities(self) -> dict[str, Identity]:
        """Return the live processes by name."""
        found = {
            name: Identity.of(running.process.pid)
            for name, running in self._running.items()
            if running.process is not None and running.process.returncode is None
        }
        return {name: identity for name, identity in found.items() if identity is not None}

    def last_exit(self, name: str) -> int | None:
        """Return the exit code of the program's last death, None if it never died."""
        return self._running[name].last_exit

    async def stop(self, names: Sequence[str]) -> None:
        """Stop these programs together; returns when none of their processes is left."""
        await asyncio.gather(
            *(self._stop(self._running[name]) for name in names if name in self._running)
        )

    def kill_all(self) -> None:
        """Kill everything at once, without waiting."""
        for running in self._running.values():
            running.stopping = True
            if running.process is not None and running.process.returncode is None:
                processes.signal_family(running.process.pid, signal.SIGKILL)

    async def _spawn(self, running: _Running) -> None:
        execution = running.program.execution
        await asyncio.to_thread(execution.prepare)
        if running.stopping:
            return
        with execution.log.open("ab") as log:
            running.process = await self._begin(execution, log)
        running.started = time.monotonic()
        self._changed(self.identities())

    async def _begin(
        self, execution: Execution, log: BinaryIO
    ) -> asyncio.subprocess.Process | ForkedProcess:
        if execution.module and self._fork_server is not None:
            with contextlib.suppress(ForkServerGone):
                return await self._fork_server.start(
                    execution.module, execution.environment, log.fileno()
                )
        return await asyncio.create_subprocess_exec(
            *execution.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(execution.environment),
            start_new_session=True,
        )

    async def _watch(self, running: _Running) -> None:
        while running.process is not None:
            code = await running.process.wait()
            running.last_exit = code
            if running.stopping:
                return
            if not self._restart:
                self._say(f"{running.program.name} ended ({_told(code)}); not restarted")
                return
            lived = time.monotonic() - running.started
            failed = code >= 0 and lived < _SHORT_LIFE_SECONDS
            running.failures = running.failures + 1 if failed else 0
            if not failed:
                running.backoff.reset()
            delay = running.backoff.delay() if failed else _DELAY_SECONDS
            self._say(f"{running.program.name} ended ({_told(code)}); again in {delay:.1f} s")
            await asyncio.sleep(delay)
            await self._spawn_again(running)

    async def _spawn_again(self, running: _Running) -> None:
        while not running.stopping:
            try:
                await self._spawn(running)
                return
            except (OSError, RuntimeError) as failure:
                self._say(f"{running.program.name} does not start: {failure}")
                await asyncio.sleep(_LONGEST_DELAY_SECONDS)

    async def _until_ready(self, name: str) -> None:
        ready = False
        while not ready:
            running = self._running[name]
            if running.failures >= _FAILURES_IN_VAIN:
                raise RuntimeError(f"{name} keeps ending")
            ready = running.ready = await running.program.ready()
            await asyncio.sleep(_READY_POLL_SECONDS)

    async def _stop(self, running: _Running) -> None:
        running.stopping = True
        await cancel_and_wait(running.watcher)
        process = running.process
        if process is None or process.returncode is not None:
            return
        members = processes.family(process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(running.program.stop_signal)
        for member in members:
            # A frozen process gets its signal only when it goes on.
            with contextlib.suppress(psutil.Error):
                member.resume()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self._say(f"{running.program.name} did not stop: killed")
            processes.signal_family(process.pid, signal.SIGKILL)
            await process.wait()
        await asyncio.to_thread(psutil.wait_procs, members, 5)


def _told(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
