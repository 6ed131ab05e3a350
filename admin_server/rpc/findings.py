"""FileRegistryService about what is wrong: the check of the mesh, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from admin_server.findings.check import Checked, MeshCheck
from admin_server.findings.judging import FindingKind
from admin_server.findings.resolving import Resolving
from admin_server.findings.table import Finding, FindingTable
from admin_server.rpc.times import timestamp
from artstore.v1 import registry_pb2 as pb
from mesh.errors import InvalidArgument
from mesh.identity.caller import current_caller
from mesh.operations import Operations
from mesh.operations.operation import Operation
from mesh.operations.servicer import to_message
from mesh.paging import AskedPage

_NUMBERS = {kind: pb.FindingKind.Value(f"FINDING_KIND_{kind.name}") for kind in FindingKind}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class FindingCalls:
    """Those calls."""

    operations: Operations
    check: MeshCheck
    table: FindingTable
    resolving: Resolving

    async def check_mesh(self, request: pb.CheckMeshRequest) -> pb.CheckMeshResponse:
        """Check all files; goes on when the caller leaves."""

        async def work(operation: Operation) -> tuple[Operation, Checked]:
            return operation, await self.check.run(operation)

        operation, checked = await self.operations.run("mesh_check", request.operation_id, work)
        return pb.CheckMeshResponse(
            operation=to_message(operation, ""),
            file_count=checked.files,
            counts=[
                pb.FindingCount(kind=_NUMBERS[kind], count=count)
                for kind, count in sorted(checked.counts.items())
            ],
            complete=checked.complete,
        )

    async def list_findings(self, request: pb.ListFindingsRequest) -> pb.ListFindingsResponse:
        """Those that wait, oldest first."""
        if "\0" in request.storage_element_id:
            raise InvalidArgument("must not hold NUL", field="storage_element_id")
        unknown = [number for number in request.kinds if number not in _KINDS]
        if unknown:
            raise InvalidArgument(f"no kind has the number {unknown[0]}", field="kinds")
        kinds = sorted({_KINDS[number].value for number in request.kinds})
        asked = AskedPage.of(
            request, ("findings", *kinds, request.storage_element_id), datetime, str
        )
        found, total = await self.table.list(
            kinds=kinds,
            element_id=request.storage_element_id,
            after=asked.after,
            limit=asked.size + 1,
        )
        page, token = asked.page(found, lambda one: (one.found_at, one.finding_id))
        return pb.ListFindingsResponse(
            findings=[_message(one) for one in page], next_page_token=token, total_size=total
        )

    async def resolve_home(self, request: pb.ResolveHomeRequest) -> pb.ResolveHomeResponse:
        """Make an element the home of a file."""
        if not request.storage_element_id:
            raise InvalidArgument("say which element", field="storage_element_id")
        taken = await self.resolving.resolve(
            request.file_id, request.storage_element_id, current_caller()
        )
        return pb.ResolveHomeResponse(file=taken.file, change_token=taken.change_token)


def _message(one: Finding) -> pb.Finding:
    return pb.Finding(
        finding_id=one.finding_id,
        kind=_NUMBERS[FindingKind(one.kind)],
        file_id=one.file_id,
        storage_element_ids=one.element_ids,
        detail=one.detail,
        found_at=timestamp(one.found_at),
    )
