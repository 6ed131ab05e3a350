"""Files move between elements, as whoever asks for it has it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from artstore.v1 import lifecycle_pb2 as pb
from artstore.v1 import lifecycle_pb2_grpc, types_pb2
from tests.support.mesh import MeshProcess
from tests.support.outside import Outside, error_info
from tests.support.waiting import wait_until

StartMesh = Callable[..., MeshProcess]
ENDED = {pb.TRANSFER_STATE_COMPLETED, pb.TRANSFER_STATE_FAILED, pb.TRANSFER_STATE_CANCELLED}
# What a killed admin had is taken up by the next one soon.
SOON = {"ARTSTORE_TRANSFER_LEASE_SECONDS": "1.5", "ARTSTORE_TRANSFER_RETRY_SECONDS": "0.2"}


class Mover(Outside):
    """A caller of LifecycleService."""

    @property
    def life(self) -> Any:
        return lifecycle_pb2_grpc.LifecycleServiceStub(self.channel("admin"))

    def move(self, file_id: str, target: str) -> pb.Transfer:
        request = pb.MoveFileRequest(file_id=file_id, target_storage_element_id=target)
        transfer: pb.Transfer = self.life.MoveFile(request, **self.auth).transfer
        return transfer

    def transfer(self, transfer_id: str) -> pb.Transfer:
        request = pb.GetTransferRequest(transfer_id=transfer_id)
        transfer: pb.Transfer = self.life.GetTransfer(request, **self.auth).transfer
        return transfer

    def moved(self, file_id: str, target: str) -> pb.Transfer:
        begun = self.move(file_id, target)
        return self.ended(begun.transfer_id)

    def ended(self, transfer_id: str) -> pb.Transfer:
        def has_ended() -> bool:
            try:
                return self.transfer(transfer_id).state in ENDED
            except grpc.RpcError:
                return False

        wait_until(has_ended, 60.0, "the transfer ends")
        return self.transfer(transfer_id)


@pytest.mark.full
def test_a_file_moves_with_all_it_has_also_when_admin_is_killed(own_mesh: StartMesh) -> None:
    mesh = own_mesh(**SOON)
    content = os.urandom(3 * 2**20)
    with Mover(mesh.file) as outside:
        file = outside.upload(
            content, "moves.bin", description="mine", tags=["a", "b"], attributes={"k": "v"}
        )
        assert file.storage_element_id == "se-01"
        done = outside.moved(file.file_id, "se-02")
        assert (done.state, done.error) == (pb.TRANSFER_STATE_COMPLETED, "")
        assert done.copied_size_bytes == done.size_bytes == len(content)
        home, there = outside.download("se-02", file.file_id)
        assert there == content
        assert (home.state, home.revision) == (types_pb2.FILE_STATE_ACTIVE, 2)
        for name in ("description", "tags", "attributes", "sha256", "created_by", "expires_at"):
            assert getattr(home, name) == getattr(file, name)
        # The source gives bytes for a day, and takes no changes.
        assert outside.download("se-01", file.file_id)[1] == content
        with pytest.raises(grpc.RpcError) as error:
            outside.update("se-01", file.file_id, paths=["description"], description="x")
        assert error_info(error.value).reason == "MOVED"
        assert (
            outside.update(
                "se-02", file.file_id, paths=["description"], description="x"
            ).file.revision
            == 3
        )
        back = outside.moved(file.file_id, "se-01")
        assert back.state == pb.TRANSFER_STATE_COMPLETED
        assert outside.get("se-01", file.file_id).revision == 4
    _move_and_kill(mesh, kills=1)


@pytest.mark.full
def test_moves_go_on_through_many_deaths_of_admin(own_mesh: StartMesh) -> None:
    _move_and_kill(own_mesh(**SOON), kills=12)


def _move_and_kill(mesh: MeshProcess, *, kills: int) -> None:
    """Each death comes a little later after the move was asked for than the one before."""
    content = os.urandom(2**20)
    with Mover(mesh.file) as outside:
        file = outside.upload(content, "moves.bin")
        for n in range(kills):
            begun = outside.move(file.file_id, f"se-0{2 - n % 2}")
            time.sleep(0.01 * n)
            mesh.signal("admin", signal.SIGKILL)
            wait_until(lambda: _answers(outside), 30.0, "admin is back")
            ended = outside.ended(begun.transfer_id)
            assert ended.state == pb.TRANSFER_STATE_COMPLETED
            assert outside.download(ended.target_storage_element_id, file.file_id)[1] == content


def _answers(outside: Mover) -> bool:
    try:
        outside.life.ListTransfers(pb.ListTransfersRequest(), **outside.auth)
    except grpc.RpcError:
        return False
    return True
