"""The client library of whatever checkout is imported, as a process of its own.

`python -P bench/peers/uploader.py MESH_JSON FILE` uploads FILE for each line that it reads, and
answers with a line.
"""

from __future__ import annotations

import asyncio
import sys

from artstore_client import Client


async def main(mesh_file: str, path: str) -> None:
    """Until the input ends."""
    async with Client.connect(mesh_file=mesh_file) as client:
        while await asyncio.to_thread(sys.stdin.readline):
            await client.upload(path, name="bench.bin")
            print("uploaded", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
