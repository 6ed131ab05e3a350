"""`--timeout` and `--no-retry`, which every command takes, before its name or after it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a command goes on.

    Attributes:
        timeout_seconds: the command ends then, and what fails is tried again until then. None:
            no end of its own, and what fails is tried again for 120 s without progress.
        retry: try again what a moment's wait may cure.
    """

    timeout_seconds: float | None = None
    retry: bool = True


_LIMITS: ContextVar[Limits] = ContextVar("limits", default=Limits())  # noqa: B039 - is frozen

Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        show_default=False,
        help="End after this time. Default: try again for 120 s without progress.",
    ),
]
NoRetry = Annotated[bool, typer.Option("--no-retry", help="Take the first failure as final.")]


def limits() -> Limits:
    """What the present command was told."""
    return _LIMITS.get()


def take(timeout: float | None, no_retry: bool) -> None:
    """Heed what was said; what was not leaves what was said before."""
    told = _LIMITS.get()
    if timeout is not None:
        told = replace(told, timeout_seconds=timeout)
    if no_retry:
        told = replace(told, retry=False)
    _LIMITS.set(told)


def with_limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that takes the two options besides its own."""

    @functools.wraps(command)
    def limited(*arguments: Any, **options: Any) -> Any:
        take(options.pop("timeout"), options.pop("no_retry"))
        return command(*arguments, **options)

    signature = inspect.signature(command, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        *signature.parameters.values(),
        inspect.Parameter("timeout", keyword, default=None, annotation=Timeout),
        inspect.Parameter("no_retry", keyword, default=False, annotation=NoRetry),
    ]
    limited.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    limited.__annotations__ = {found.name: found.annotation for found in parameters}
    return limited
