"""A server that only answers health, in the place of each real one: launching is what is tested.

It writes its environment to `$ARTSTORE_DATA_DIR/environment-PORT.json` and ends at once while
the file `broken-PORT` is in the data folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent import futures
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def main() -> None:
    data_dir = Path(os.environ["ARTSTORE_DATA_DIR"])
    port = os.environ["ARTSTORE_PORT"]
    told = {name: value for name, value in os.environ.items() if name.startswith("ARTSTORE_")}
    (data_dir / f"environment-{port}.json").write_text(json.dumps(told))
    if (data_dir / f"broken-{port}").exists():
        sys.exit("this server is broken")
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{int(port) + int(os.environ['ARTSTORE_PORT_OFFSET'])}"
    server.add_insecure_port(address)
    server.start()
    for service in ("", "TokenService", "StorageService", "IngestService", "QueryService"):
        name = f"artstore.v1.{service}" if service else ""
        servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
