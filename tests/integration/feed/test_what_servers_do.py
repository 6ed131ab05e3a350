"""What servers serve, need and do by themselves: none of it is lost when they are wired anew."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

from mesh.server.server import MeshServer
from tests.integration.feed.small_mesh import small_mesh

# Of every server, of every server but admin, and of those with followers.
ALL = [
    "calls of suspended accounts",
    "event loop lag",
    "give memory back",
    "health",
    "refusals",
    "signing keys",
    "suspensions",
]
LINKED = ["own access token", "renewal of an ended token", "tokens for elements"]
FOLLOWING = ["change hints"]


def _background() -> Counter[str]:
    """Names of the tasks of this loop, but for those of Python, of gRPC, of one element and of an
    operation that may be under way."""
    names = (task.get_name() for task in asyncio.all_tasks())
    others = re.compile(
        r"Task-\d|HandleExceptions|rpc_task|follow |access token for |read a change feed"
        r"|operation |renew "
    )
    return Counter(name for name in names if not others.match(name))


def _served(server: MeshServer) -> set[str]:
    return {name.removeprefix("artstore.v1.") for name in server.info.serving}


async def test_a_server_serves_needs_and_does_what_it_is_there_for(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    nothing = _background()
    async with small_mesh(tmp_path, database_url, redis_url, elements=(), query=False) as mesh:
        admin = mesh.admin.server
        of_admin = _background()
        assert of_admin - nothing == Counter(
            [
                *ALL,
                *FOLLOWING,
                "audit",
                "audit's head",
                "collection",
                "database",
                "elements' health",
                "erasures",
                "file registry",
                "registry tables",
                "storage elements",
                "sweep",
                "transfers",
                "transfers counted",
                "transfers trimmed",
            ]
        )
        assert _served(admin) == {
            "TokenService",
            "ServiceAccountService",
            "StorageElementService",
            "FileRegistryService",
            "LifecycleService",
            "AuditService",
            "BackupService",
            "DrillService",
            "OperationService",
            "ServerService",
        }
        assert list(admin.info.dependencies) == ["postgresql"]

        element = (await mesh.start_element("se-01")).server
        with_element = _background()
        assert with_element - of_admin == Counter(
            [
                *ALL,
                *LINKED,
                "clock",
                "hints of changes",
                "maintenance",
                "opening",
                "policies",
                "report to admin",
                "report to redis",
                "silent streams",
                "storage",
                "trim the feed",
                "write probe",
            ]
        )
        assert _served(element) == {
            "StorageService",
            "TransferService",
            "CacheService",
            "OperationService",
            "ServerService",
        }
        assert list(element.info.dependencies) == ["postgresql", "redis", "storage"]

        await mesh.start_query()
        assert _background() - with_element == Counter(
            [
                *ALL,
                *LINKED,
                *FOLLOWING,
                "element hints",
                "element registry",
                "element reports",
                "index follower",
                "index tables",
                "index words",
            ]
        )
        await mesh.stop("query")
        assert _background() == with_element
        await mesh.stop("se-01")
        assert _background() == of_admin
    assert _background() == nothing
