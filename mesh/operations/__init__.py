"""Long work of a server: seen while it runs, stopped on request."""

from mesh.operations.operation import Operation, State
from mesh.operations.registry import Operations, require_operation_id

__all__ = ["Operation", "Operations", "State", "require_operation_id"]
