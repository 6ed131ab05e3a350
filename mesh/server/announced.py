"""Services that are served in part: the contract is whole, the rest of the work is yet to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from mesh.calls.services import services
from mesh.errors import Unimplemented

Register = Callable[[Any, grpc.aio.Server], None]


class Form(NamedTuple):
    """In what form a servicer takes and answers the messages of a method; None: as they are."""

    read: Callable[[bytes], Any] | None
    write: Callable[[Any], bytes] | None


def partly(service: str, forms: Mapping[str, Form] | None = None) -> Register:
    """Like a generated `add_..._to_server`, for a servicer that lacks some of the methods, or takes
    messages in another form.

    Those it lacks answer UNIMPLEMENTED with a message that says so.

    Args:
        service: full name, as `artstore.v1.LifecycleService`.
        forms: of methods by their names; default: messages of protobuf.
    """
    descriptor = services()[service]

    def register(servicer: object, server: grpc.aio.Server) -> None:
        handlers = {
            method.name: _handler(
                getattr(servicer, method.name, None) or _refusal(method),
                method,
                (forms or {}).get(method.name) or _plain(method),
            )
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


def _plain(method: MethodDescriptor) -> Form:
    request = message_factory.GetMessageClass(method.input_type)
    response = message_factory.GetMessageClass(method.output_type)
    return Form(request.FromString, response.SerializeToString)


def _handler(behaviour: Callable[..., Any], method: MethodDescriptor, form: Form) -> Any:
    make: Any
    if method.client_streaming:
        make = grpc.stream_unary_rpc_method_handler
    elif method.server_streaming:
        make = grpc.unary_stream_rpc_method_handler
    else:
        make = grpc.unary_unary_rpc_method_handler
    return make(behaviour, request_deserializer=form.read, response_serializer=form.write)
