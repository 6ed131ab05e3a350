"""The two pools of connections to the index's database."""

from __future__ import annotations

from mesh.postgres.database import Database
from mesh.postgres.failures import EVERYTHING
from query_server.search import session

# Searches in flight at once.
SEARCH_CONNECTIONS = 12
# Apart from those, so that no burst of searches holds the followers up.
FOLLOWER_CONNECTIONS = 8


def followed_database(url: str) -> Database:
    """What followers write, and whatever is no search reads."""
    return Database(
        url,
        max_size=FOLLOWER_CONNECTIONS,
        application_name="artstore query",
        droppable=[EVERYTHING],
    )


def searched_database(url: str) -> Database:
    """What searches read."""
    return Database(
        url,
        max_size=SEARCH_CONNECTIONS,
        application_name="artstore query search",
        droppable=[EVERYTHING],
        settings=session.SETTINGS,
    )
