"""Which storage elements there may be: made with their accounts, listed, admitted (ADMIN)."""

from __future__ import annotations

from artstore.v1 import elements_pb2
from artstore_client.calls.connection import Connection
from artstore_client.errors import FailedPrecondition


class AdmissionCalls:
    """What an ADMIN says of elements, to admin; get it from `Client.admission`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(
        self, element_id: str, *, endpoint: str = "", priority: int | None = None
    ) -> elements_pb2.CreateStorageElementResponse:
        """Make an element known, with an account that alone reports for it.

        Its secret is in the answer and nowhere else: the element's server gets it as
        ARTSTORE_CLIENT_SECRET, and `client_id` as ARTSTORE_CLIENT_ID.

        Args:
            element_id: se-04.
            endpoint: host:port whose host its first report must have; empty takes what it says.
            priority: its place in Sequential Fill; None takes that of its first report.

        Raises:
            AlreadyExists: it is there, and has an account.
        """
        request = elements_pb2.CreateStorageElementRequest(
            storage_element_id=element_id, endpoint=endpoint, priority=priority
        )
        return await self._connection.calls.unary(
            self._connection.elements_of_admin().CreateStorageElement,
            request,
            doing="CreateStorageElement on admin",
        )

    async def registered(self) -> list[elements_pb2.StorageElement]:
        """Every element that admin knows; one that has not reported yet has no endpoint."""
        return await self._connection.registered_elements()

    async def waiting(self, element_id: str) -> elements_pb2.StorageElement:
        """The element, of which a store or an address waits to be admitted.

        Raises:
            NotFound: no such element.
            FailedPrecondition: nothing of it waits.
        """
        stub = self._connection.elements_of_admin()
        asked = await self._connection.calls.unary(
            stub.GetStorageElement,
            elements_pb2.GetStorageElementRequest(storage_element_id=element_id),
            doing="GetStorageElement on admin",
        )
        waits = asked.element
        if not waits.awaiting_store_id and not waits.awaiting_endpoint:
            raise FailedPrecondition(
                f"nothing of {element_id} waits to be admitted", reason="NOT_AWAITED"
            )
        return waits

    async def admit(
        self, element_id: str, *, store_id: str = "", endpoint: str = ""
    ) -> elements_pb2.StorageElement:
        """Accept this store and this address; the element then.

        Args:
            store_id: as it waits; empty leaves the store.
            endpoint: host:port, as it waits; empty leaves the address.

        Raises:
            NotFound: no such element.
            InvalidArgument: both are empty.
            FailedPrecondition: something else waits by now.
        """
        request = elements_pb2.AdmitStorageElementRequest(
            storage_element_id=element_id, store_id=store_id, endpoint=endpoint
        )
        answer = await self._connection.calls.unary(
            self._connection.elements_of_admin().AdmitStorageElement,
            request,
            doing="AdmitStorageElement on admin",
        )
        return answer.element
