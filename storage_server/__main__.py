"""`python -m storage_server [--check-config] [--adopt]`.

--adopt: the store is this element's although its `element.json` is missing or foreign; it is
made, or taken over, once. Without it a known element never makes the file again.
"""

import argparse
import sys
from functools import partial

from mesh.server.server import run
from storage_server.app import build
from storage_server.settings import StorageSettings

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--adopt", action="store_true")
    own, others = parser.parse_known_args()
    sys.argv[1:] = others
    run("storage_server", StorageSettings, partial(build, adopt=own.adopt))
