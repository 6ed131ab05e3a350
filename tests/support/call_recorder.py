"""A server that takes every call, keeps what it was sent with, and does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc


@dataclass
class CallRecorder(grpc.GenericRpcHandler):
    """Its calls are answered UNIMPLEMENTED.

    Attributes:
        endpoint: host:port.
        calls: metadata of each, with its path as `method`.
    """

    endpoint: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        """Note a call, and have no handler for it."""
        sent = {str(key): str(value) for key, value in handler_call_details.invocation_metadata}
        self.calls.append({**sent, "method": handler_call_details.method})


@contextmanager
def recording_calls() -> Iterator[CallRecorder]:
    """A recorder on a free port of this machine."""
    recorder = CallRecorder()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[recorder])
    recorder.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield recorder
    finally:
        server.stop(None)
