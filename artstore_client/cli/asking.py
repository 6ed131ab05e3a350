"""Asking whoever sits at the terminal."""

from __future__ import annotations

import sys

import typer

from artstore_client.cli.output import print_advice


def require_somebody(unasked: str) -> None:
    """
    Raises:
        typer.BadParameter: nobody can be asked; `unasked` says what to do then.
    """
    if not sys.stdin.isatty():
        raise typer.BadParameter(unasked)


def agreed(question: str) -> bool:
    """Whether the answer is yes."""
    print_advice(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
