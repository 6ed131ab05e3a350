"""What a transfer that is interrupted leaves, and how to go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

from artstore_client.cli.output import human_size
from artstore_client.downloads.part_files import part_name
from artstore_client.downloads.placing import look_at
from artstore_client.results import Progress
from artstore_client.uploads.uploads import ONE_STREAM_BYTES


class Transfer:
    """How far one file is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._done = 0
        self._total: int | None = None
        self._moved_at = time.monotonic()

    @property
    def stood_seconds(self) -> float:
        """Since when nothing has moved."""
        return time.monotonic() - self._moved_at

    def noting(self, shown: Progress | None) -> Progress:
        """A progress callback that remembers, and passes on to `shown`."""

        def note(done: int, total: int | None) -> None:
            if done != self._done:
                self._moved_at = time.monotonic()
            self._done, self._total = done, total
            if shown is not None:
                shown(done, total)

        return note

    def of_put(self, source: os.PathLike[str] | None) -> str:
        """What is left of an upload."""
        if source is not None and self._total is not None and self._total > ONE_STREAM_BYTES:
            return (
                f"{human_size(self._done)} of {human_size(self._total)} of {self._name} were sent"
                " and are kept for 7 days; the same put goes on from there"
            )
        if self._done and (self._total is None or self._done == self._total):
            return f"{self._name} may have been stored: look for it, or put it again"
        return f"nothing of {self._name} is stored; put it again"

    def of_stream(self) -> str:
        """What was written to something that can't be gone on with."""
        return f"{self._name} got no more than the first {human_size(self._done)}; get it again"

    def of_get(self, target: Path, file_id: str, *, whole: bool) -> str:
        """What is left of a download."""
        try:
            found = look_at(target, overwrite=True)
            if not found.is_file:
                return self.of_stream()
            part = found.real.parent / part_name(file_id)
            if whole and part.stat().st_size:
                return (
                    f"{human_size(part.stat().st_size)} of {self._name} are kept in {part};"
                    " the same get goes on from there"
                )
        except OSError:
            pass
        return f"nothing of {self._name} is kept; get it again"


def of_operation(element_id: str, operation_id: str) -> str:
    """What is left of a check or repair: all of it."""
    named = f"{element_id} {operation_id}"
    return (
        f"{element_id} goes on with it; `artstore cache watch {named}` follows it,"
        f" `artstore cache cancel {named}` stops it"
    )
