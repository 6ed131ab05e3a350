"""Files in which a server keeps what admin told it, so that it restarts without admin."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_kept(path: Path, text: str) -> None:
    """Replace `path` by `text`, durably and all at once; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # NamedTemporaryFile makes it 0600; several servers may share the file, so each its own name.
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
