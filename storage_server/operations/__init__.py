"""Long work on the cache of an element: seen while it runs, stopped on request."""

from storage_server.operations.operation import Operation, State
from storage_server.operations.registry import Operations

__all__ = ["Operation", "Operations", "State"]
