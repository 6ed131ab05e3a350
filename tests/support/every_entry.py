"""A folder with every kind of entry that a file system can hold, some of which change meanwhile."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEBIBYTE = 2**20
BAD_NAME = os.fsdecode(b"bad\xff name.txt")
LONG_NAME = "n" * 251 + ".txt"

# Run by root, a command of this prefix may read no more than what the modes of files allow.
NO_MORE_THAN_MODES = (
    "setpriv",
    "--inh-caps=-dac_override,-dac_read_search",
    "--bounding-set=-dac_override,-dac_read_search",
)

STORED = (
    "plain.txt",
    "empty",
    "sub/deep.txt",
    "to_file",
    "sparse",
    BAD_NAME,
    LONG_NAME,
)
# Links out of the folder, to files that do not say how much they hold.
OUTSIDE = {
    "size_0_with_content": Path("/proc/filesystems"),
    "size_4096_with_less": Path("/sys/kernel/mm/transparent_hugepage/enabled"),
}
LEFT_OUT = ("to_folder", "up", "dangling", "fifo", "socket", "device", "disk", *OUTSIDE)
FAILED = ("loop", "unreadable.txt", "locked", "growing", "rewritten")


def make_every_entry(top: Path, *, sparse_bytes: int) -> None:
    """Fill `top`."""
    (top / "sub").mkdir(parents=True)
    (top / "plain.txt").write_text("plain")
    (top / "empty").touch()
    (top / "sub" / "deep.txt").write_text("deep")
    (top / "to_file").symlink_to("plain.txt")
    (top / "to_folder").symlink_to("sub")
    (top / "up").symlink_to("..")
    (top / "dangling").symlink_to("nowhere")
    (top / "loop").symlink_to("loop")
    link_outside(top)
    os.mkfifo(top / "fifo")
    os.mknod(top / "device", 0o20666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o60666, os.makedev(7, 0))
    with socket.socket(socket.AF_UNIX) as listening:
        # A socket's path may have 107 bytes only.
        folder = os.open(top, os.O_PATH)
        listening.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    with (top / "sparse").open("wb") as sparse:
        sparse.truncate(sparse_bytes)
        sparse.seek(sparse_bytes // 2)
        sparse.write(b"not only zeros")
    for name in (BAD_NAME, LONG_NAME):
        (top / name).write_text("named")
    for name in ("growing", "rewritten"):
        (top / name).write_bytes(bytes(32 * MEBIBYTE))
    (top / "unreadable.txt").touch(0o000)
    (top / "locked").mkdir()
    (top / "locked" / "inside.txt").write_text("inside")
    (top / "locked").chmod(0o000)


def link_outside(top: Path) -> None:
    """Put the links of OUTSIDE into `top`."""
    for name, target in OUTSIDE.items():
        (top / name).symlink_to(target)


@contextmanager
def changing(top: Path) -> Iterator[None]:
    """Write to `growing` and `rewritten` all the time."""
    ended = threading.Event()

    def write() -> None:
        with (top / "growing").open("ab", 0) as grows, (top / "rewritten").open("r+b", 0) as other:
            while not ended.wait(0.001):
                grows.write(b"more")
                os.pwrite(other.fileno(), os.urandom(16), 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
