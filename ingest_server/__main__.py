"""`python -m ingest_server`"""

from ingest_server.app import build
from ingest_server.settings import IngestSettings
from mesh.server.server import run

if __name__ == "__main__":
    run("ingest", IngestSettings, build)
