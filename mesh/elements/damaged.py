"""Bytes of a file that an element should have, told by id: texts of a store name paths."""

from __future__ import annotations

from mesh.errors import DataLoss


def damaged(file_id: str, element_id: str, error: DataLoss) -> DataLoss:
    """`error`, without the name of the file, for logs and tables of other servers."""
    return DataLoss(
        f"the bytes of {file_id} are missing or damaged at {element_id}", reason=error.reason
    )
