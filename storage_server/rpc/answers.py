"""Files as this element answers them."""

from __future__ import annotations

from dataclasses import dataclass

from artstore.v1 import types_pb2
from storage_server.catalog.catalog import Catalog
from storage_server.rpc.messages import file_message, token_of
from storage_server.writing.view import FileView


@dataclass(frozen=True, slots=True)
class Answers:
    """Puts files and change tokens into the words of the contract."""

    element_id: str
    catalog: Catalog

    def file(self, view: FileView) -> types_pb2.File:
        """The file, of this element."""
        return file_message(view, self.element_id)

    def token(self, view: FileView) -> str:
        """The change token of its last change; empty when its place in the feed is not known."""
        return token_of(view, self.element_id, self.catalog.epoch)
