"""`python -m bench.hostile.sink`: a server that takes any call and does nothing with it.

It prints its address and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from artstore.v1 import downloads_pb2, types_pb2

NICENESS = 19
CHUNK_BYTES = 512 * 1024
CHUNKS = 128
_OPTIONS = (("grpc.max_receive_message_length", 8 * 1024 * 1024), ("grpc.so_reuseport", 0))


class _Anything(grpc.GenericRpcHandler):
    """Reads all that is sent and answers one empty message; downloads give bytes, watches wait."""

    def service(self, details: Any) -> Any:
        method = str(details.method)

        async def handle(requests: Any, context: Any) -> AsyncIterator[bytes]:
            async for _ in requests:
                pass
            if method.endswith("/Watch") or "/Watch" in method:
                await asyncio.Event().wait()
            elif method.endswith(("/Download", "/DownloadFile")):
                chunk = types_pb2.Chunk(data=bytes(CHUNK_BYTES))
                message = downloads_pb2.DownloadResponse(chunk=chunk).SerializeToString()
                for _ in range(CHUNKS):
                    yield message
            yield b""

        return grpc.stream_stream_rpc_method_handler(handle)


async def main() -> None:
    """Serve on a free port."""
    server = grpc.aio.server(handlers=[_Anything()], options=_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    os.nice(NICENESS)
    asyncio.run(main())
