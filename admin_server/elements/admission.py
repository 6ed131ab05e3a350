"""What of a report is taken without a word, and what waits for an ADMIN. Plain decisions.

The account of a report was looked at before. The store is the element's own: another one under the
same id has other files. The address is where servers send their tokens: another port is taken at
once, for it is a restart; another host may be somebody else's machine.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import datetime

from admin_server.elements.element import NEVER, Awaiting, RegisteredElement, Report
from mesh.elements.seen import is_young
from mesh.errors import FailedPrecondition


def host_of(endpoint: str) -> str:
    """The host of host:port, in the one form in which hosts are compared.

    A name and the address that it stands for are two: a name may stand for another one tomorrow.
    """
    host = endpoint.rpartition(":")[0].strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def awaiting_of(known: RegisteredElement, report: Report, now: datetime) -> Awaiting | None:
    """What of a report waits for an ADMIN's word; None if nothing does."""
    admitted = known.report
    store = "" if admitted.store_id in ("", report.store_id) else report.store_id
    is_elsewhere = admitted.endpoint and host_of(admitted.endpoint) != host_of(report.endpoint)
    endpoint = report.endpoint if is_elsewhere else ""
    return Awaiting(store, endpoint, now) if store or endpoint else None


def is_shadowed(known: RegisteredElement, report: Report, *, healthy: bool) -> bool:
    """Whether it is a standby's report while the writer is well: both have one name."""
    same_store = known.report.store_id == report.store_id
    other_writer = known.report.is_writer and known.report.endpoint != report.endpoint
    return same_store and not report.is_writer and other_writer and healthy


def reported(known: RegisteredElement, report: Report, now: datetime) -> RegisteredElement:
    """The element after a report of which nothing waits.

    What has waited goes once nobody has asked for it for a while: two that have one name, by
    mistake, are seen for as long as both report.
    """
    element = replace(known, report=report, reported_at=now)
    waited = known.awaiting
    if waited and not is_young(abs((now - waited.at).total_seconds())):
        return replace(element, awaiting=Awaiting(at=now))
    return element


def require_admitted_store(element: RegisteredElement) -> None:
    """
    Raises:
        FailedPrecondition: a store of it waits.
    """
    waiting = element.awaiting.store_id
    if waiting:
        name = element.storage_element_id
        raise FailedPrecondition(
            f"{name} is known with another store: an ADMIN admits {waiting} by `artstore element"
            f" admit {name}`, if the old one is gone for good",
            reason="OTHER_STORE",
            metadata={"store_id": element.report.store_id},
        )


def admitted(element: RegisteredElement, store_id: str, endpoint: str) -> RegisteredElement:
    """The element once an ADMIN has accepted these; empty leaves what there is.

    It is silent until its next report: what it said of the old store or at the old address says
    nothing of the new one.

    Raises:
        FailedPrecondition: one of them is neither accepted nor waits.
    """
    waiting, report = element.awaiting, element.report
    for what, asked, now_admitted, waits in (
        ("store_id", store_id, report.store_id, waiting.store_id),
        ("endpoint", endpoint, report.endpoint, waiting.endpoint),
    ):
        if asked not in ("", now_admitted, waits):
            raise FailedPrecondition(
                f"{what} {asked[:100]!r} of {element.storage_element_id} does not wait:"
                f" {waits!r} does"
                if waits
                else f"no {what} of {element.storage_element_id} waits to be admitted",
                reason="NOT_AWAITED",
            )
    after = replace(
        report, store_id=store_id or report.store_id, endpoint=endpoint or report.endpoint
    )
    if after == report:
        return element
    left = Awaiting(
        "" if store_id else waiting.store_id, "" if endpoint else waiting.endpoint, waiting.at
    )
    return replace(
        element,
        report=after,
        reported_at=NEVER,
        awaiting=left,
        admissions=element.admissions + 1,
    )
