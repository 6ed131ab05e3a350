"""LifecycleService and AuditService: announced, not served yet."""

from __future__ import annotations

from typing import Any, NoReturn

from artstore.v1 import admin_pb2_grpc
from mesh.errors import Unimplemented


def _not_yet(service: str) -> NoReturn:
    raise Unimplemented(f"{service} is not served by this version")


class LifecycleServicer(admin_pb2_grpc.LifecycleServiceServicer):
    """Collection of what has expired."""

    async def RunCollection(self, request: Any, context: Any) -> NoReturn:
        """Not served yet."""
        _not_yet("LifecycleService")

    async def ListCollections(self, request: Any, context: Any) -> NoReturn:
        """Not served yet."""
        _not_yet("LifecycleService")


class AuditServicer(admin_pb2_grpc.AuditServiceServicer):
    """What was done by whom."""

    async def ListAuditEvents(self, request: Any, context: Any) -> NoReturn:
        """Not served yet."""
        _not_yet("AuditService")

    async def VerifyAuditEvents(self, request: Any, context: Any) -> NoReturn:
        """Not served yet."""
        _not_yet("AuditService")
