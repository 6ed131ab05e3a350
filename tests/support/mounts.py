"""File systems of a test's own: mounted, turned read-only, filled, and gone afterwards.

They need root and a kernel that lets it mount; where it does not, the test fails.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def run(command: Sequence[str], *, inside: int | None = None) -> None:
    """Run a command.

    Args:
        inside: pid of a process whose mounts it is to see and change; None: this one's.
    """
    entered = [] if inside is None else ["nsenter", "-t", str(inside), "-m", "--"]
    done = subprocess.run([*entered, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


@contextmanager
def read_only(folder: Path, *, inside: int | None = None) -> Iterator[None]:
    """`folder` refuses writes by whoever opens something in it from now on, whatever is open."""
    run(["mount", "--bind", str(folder), str(folder)], inside=inside)
    try:
        run(["mount", "-o", "remount,bind,ro", str(folder)], inside=inside)
        yield
    finally:
        run(["umount", "-l", str(folder)], inside=inside)


@contextmanager
def immutable(folder: Path) -> Iterator[None]:
    """Nobody, root included, makes or removes entries of `folder`."""
    run(["chattr", "+i", str(folder)])
    try:
        yield
    finally:
        run(["chattr", "-i", str(folder)])


@contextmanager
def memory(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of that size in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=755", "tmpfs", str(folder)])
    try:
        yield
    finally:
        run(["umount", "-l", str(folder)])


def disk_image(path: Path, size_bytes: int) -> None:
    """Make a sparse file with an ext4 that turns read-only by itself when it meets an error."""
    with path.open("wb") as image:
        image.truncate(size_bytes)
    run(["mkfs.ext4", "-q", "-F", "-e", "remount-ro", "-E", "lazy_itable_init=1", str(path)])


def break_disk(folder: Path, *, inside: int | None = None) -> None:
    """Have the ext4 at `folder` meet an error: it takes no writes, of open files either."""
    run(["mount", "-o", "remount,abort", str(folder)], inside=inside)


def on_disk(image: Path, folder: Path) -> list[str]:
    """What to put before a command so that it, and what it starts, has `image` in `folder`.

    Nobody else sees that mount, and it is gone when they are.
    """
    unshare = shutil.which("unshare")
    assert unshare is not None
    mounting = 'mount -o loop "$1" "$2" && shift 2 && exec "$@"'
    private = [unshare, "-m", "--propagation", "private"]
    return [*private, "/bin/sh", "-c", mounting, "sh", str(image), str(folder)]
