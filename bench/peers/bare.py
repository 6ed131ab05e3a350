"""A bare gRPC server: takes our upload stream and throws it away, sends bytes from memory.

`python -m bench.peers.bare` prints its address and serves until it is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from artstore.v1 import downloads_pb2, storage_pb2, storage_pb2_grpc, types_pb2, uploads_pb2

CHUNK_BYTES = 512 * 1024
OPTIONS = (("grpc.max_receive_message_length", 8 * 1024 * 1024), ("grpc.so_reuseport", 0))


class BareServicer(storage_pb2_grpc.StorageServiceServicer):
    """The messages of StorageService and nothing behind them."""

    async def Upload(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        """Count bytes."""
        size = 0
        async for request in request_iterator:
            size += len(request.chunk.data)
        return uploads_pb2.UploadResponse(file=types_pb2.File(size_bytes=size))

    async def Download(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send `length` bytes."""
        data, offset = bytes(CHUNK_BYTES), 0
        while offset < request.length:
            yield downloads_pb2.DownloadResponse(chunk=types_pb2.Chunk(offset=offset, data=data))
            offset += CHUNK_BYTES

    async def GetFile(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer a file of usual size."""
        return storage_pb2.StorageServiceGetFileResponse(
            file=types_pb2.File(
                file_id=request.file_id,
                original_filename="bench.bin",
                storage_filename="bench_admin_20260101T000000_" + request.file_id + ".bin",
                sha256="0" * 64,
                size_bytes=1,
            )
        )


async def main() -> None:
    """Serve on a free port."""
    server = grpc.aio.server(options=OPTIONS)
    storage_pb2_grpc.add_StorageServiceServicer_to_server(BareServicer(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
