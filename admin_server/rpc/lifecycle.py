"""LifecycleService: holds, and the parts that stand in modules of their own."""

from __future__ import annotations

from typing import Any

from admin_server.life.copies import Copies
from admin_server.registry.holds import Holds
from admin_server.rpc.collections import CollectionCalls
from admin_server.rpc.erasures import ErasureServicer
from admin_server.rpc.policies import PolicyCalls
from admin_server.rpc.transfers import TransferServicer
from artstore.v1 import lifecycle_pb2
from mesh.identity.caller import current_caller


class LifecycleServicer:
    """What happens to files after they are stored."""

    def __init__(
        self,
        holds: Holds,
        copies: Copies,
        *,
        transfers: TransferServicer,
        policies: PolicyCalls,
        erasures: ErasureServicer,
        collections: CollectionCalls,
    ) -> None:
        self._holds = holds
        self._copies = copies
        self.EraseFile = erasures.EraseFile
        self.MoveFile = transfers.MoveFile
        self.GetTransfer = transfers.GetTransfer
        self.ListTransfers = transfers.ListTransfers
        self.CancelTransfer = transfers.CancelTransfer
        self.RetryTransfer = transfers.RetryTransfer
        self._policies = policies
        self._collections = collections

    async def SetLegalHold(
        self, request: lifecycle_pb2.SetLegalHoldRequest, context: Any
    ) -> lifecycle_pb2.SetLegalHoldResponse:
        """Hold a file, or not any more."""
        held = await self._holds.set(
            request.file_id, request.legal_hold, request.reason, current_caller()
        )
        return lifecycle_pb2.SetLegalHoldResponse(
            file=held.file,
            change_token=held.change_token,
            silent_storage_element_ids=await self._copies.sync(held.file.file_id),
        )

    async def GetPolicy(
        self, request: lifecycle_pb2.GetPolicyRequest, context: Any
    ) -> lifecycle_pb2.GetPolicyResponse:
        """What holds for the files of a namespace."""
        return await self._policies.get(request)

    async def SetPolicy(
        self, request: lifecycle_pb2.SetPolicyRequest, context: Any
    ) -> lifecycle_pb2.SetPolicyResponse:
        """Replace it."""
        return await self._policies.set(request)

    async def ListPolicies(
        self, request: lifecycle_pb2.ListPoliciesRequest, context: Any
    ) -> lifecycle_pb2.ListPoliciesResponse:
        """List those that were set, by namespace."""
        return await self._policies.list(request)

    async def RunCollection(
        self, request: lifecycle_pb2.RunCollectionRequest, context: Any
    ) -> lifecycle_pb2.RunCollectionResponse:
        """Take away what is due, or say what that would be."""
        return await self._collections.run(request)

    async def ListCollections(
        self, request: lifecycle_pb2.ListCollectionsRequest, context: Any
    ) -> lifecycle_pb2.ListCollectionsResponse:
        """List runs, newest first."""
        return await self._collections.list(request)
