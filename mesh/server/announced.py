"""Services that are served in part: the contract is whole, the rest of the work is yet to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from mesh.calls.services import services
from mesh.errors import Unimplemented

Register = Callable[[Any, grpc.aio.Server], None]


def partly(service: str) -> Register:
    """Like a generated `add_..._to_server`, for a servicer that lacks some of the methods.

    Those answer UNIMPLEMENTED with a message that says so.

    Args:
        service: full name, as `artstore.v1.LifecycleService`.
    """
    descriptor = services()[service]

    def register(servicer: object, server: grpc.aio.Server) -> None:
        handlers = {
            method.name: _handler(getattr(servicer, method.name, None) or _refusal(method), method)
            for method in descriptor.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_registered_method_handlers(service, handlers)

    return register


class Nothing:
    """The servicer of a service of which nothing is served."""


def _refusal(method: MethodDescriptor) -> Callable[..., Any]:
    name = f"{method.containing_service.name}.{method.name}"

    async def refuse(request: object, context: object) -> NoReturn:
        raise Unimplemented(
            f"{name} is part of the contract, and this version does not serve it yet; a later"
            " one does"
        )

    return refuse


def _handler(behaviour: Callable[..., Any], method: MethodDescriptor) -> Any:
    make: Any
    if method.client_streaming:
        make = grpc.stream_unary_rpc_method_handler
    elif method.server_streaming:
        make = grpc.unary_stream_rpc_method_handler
    else:
        make = grpc.unary_unary_rpc_method_handler
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    return make(
        behaviour,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )
