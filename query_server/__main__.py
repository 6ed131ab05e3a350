"""`python -m query_server`."""

from mesh.server.server import run
from query_server.app import build
from query_server.settings import QuerySettings

if __name__ == "__main__":
    run("query_server", QuerySettings, build)
