"""`element.json`: which element a store belongs to, and when it may be made.

It is made only at a first start: the store is empty and the database has never heard of the
element. A known element without it is an unmounted folder or a wrong bucket, and an empty
store that looks proved would be taken for the loss of every file. `--adopt` is the operator's
word that the store is the element's all the same.
"""

from __future__ import annotations

import codecs
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import orjson
import structlog

from mesh.elements.seen import ELEMENT_ID
from mesh.errors import Unavailable
from storage_server.domain.modes import Mode
from storage_server.store.port import Store

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ElementFile:
    """The content of `element.json`.

    Attributes:
        peers: ids of the other elements; not in the file while none are known.
    """

    element_id: str
    store_id: str
    mode: Mode
    peers: tuple[str, ...] = ()


def encode(element: ElementFile) -> bytes:
    """The bytes of `element.json`."""
    return orjson.dumps(
        {
            "element_id": element.element_id,
            "store_id": element.store_id,
            "mode": element.mode.value,
            **({"peers": element.peers} if element.peers else {}),
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def decode(content: bytes) -> ElementFile:
    """Undo `encode`; whatever else is in it is ignored.

    Raises:
        Unavailable: it cannot be read.
    """
    try:
        members = orjson.loads(content.removeprefix(codecs.BOM_UTF8))
        return ElementFile(
            str(members["element_id"]),
            str(members["store_id"]),
            Mode(members["mode"]),
            tuple(one for one in members.get("peers") or () if ELEMENT_ID.fullmatch(str(one))),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise Unavailable(
            "element.json cannot be read: restore it, or start once with --adopt",
            reason="ELEMENT_FILE",
        ) from exc


async def read(store: Store, element_id: str) -> ElementFile:
    """The store's `element.json`, proved to be this element's.

    Raises:
        Unavailable: it is missing or foreign, or the store does not answer.
    """
    content = await store.read_element()
    if content is None:
        raise Unavailable(
            f"the store of {element_id} has no element.json: is it mounted? "
            "Start once with --adopt if this is its store",
            reason="ELEMENT_FILE",
        )
    found = decode(content)
    if found.element_id != element_id:
        raise Unavailable(
            f"the store belongs to {found.element_id}, not to {element_id}", reason="ELEMENT_FILE"
        )
    return found


async def establish(
    store: Store,
    *,
    element_id: str,
    mode: Mode,
    is_known: Callable[[], Awaitable[bool]],
    adopt: bool = False,
) -> ElementFile:
    """`read`, or make the file where that is allowed. The caller is the one writer.

    Args:
        mode: of a new element.
        is_known: whether the database has tables of this element.
        adopt: the operator says that the store is this element's.
    """
    content = await store.read_element()
    if content is None and (adopt or (await store.is_empty() and not await is_known())):
        made = ElementFile(element_id, str(uuid.uuid4()), mode)
        await store.write_element(encode(made))
        _log.info("element.json made", element=element_id, store=made.store_id, adopted=adopt)
    elif content is not None and adopt:
        await _adopt(store, content, element_id, mode)
    return await read(store, element_id)


async def _adopt(store: Store, content: bytes, element_id: str, mode: Mode) -> None:
    try:
        found = decode(content)
    except Unavailable:
        found = ElementFile("", str(uuid.uuid4()), mode)
    if found.element_id != element_id:
        await store.write_element(encode(replace(found, element_id=element_id)))
        _log.warning("store adopted", element=element_id, was=found.element_id)
