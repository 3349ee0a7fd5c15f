"""The operator's image, built from this checkout, and run as its pod would be.

buildah and debootstrap do it, as root and without a container engine. The base is Debian's Python,
made once a machine and kept in a store of its own, so no registry is asked for an image.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.e2e.stack import Operator

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fractal-image-test"
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
BASE = f"localhost/fractal-base:{SUITE}"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
MINUTES = 60.0
STOP_SECONDS = 25.0
"""A pod has 30 s by default; the operator promises to need less."""
IN_POD = """
set -e
root=$1; user=$2; group=$3; mounts=$4; shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/tmp"
mount -t tmpfs -o mode=0755 tmpfs "$root/mnt"
for each in $mounts; do
  touch "$root/mnt/${each##*/}"
  mount --bind "$each" "$root/mnt/${each##*/}"
done
exec chroot "$root" /usr/bin/setpriv --reuid="$user" --regid="$group" --clear-groups \
  --no-new-privs --bounding-set=-all --inh-caps=-all /usr/bin/env -i "$@"
"""
"""What the chart's security context asks of a kubelet: a read-only root, a /tmp, the image's user,
no capabilities, no new privileges. The process is number 1 of its namespace."""

NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]

Obj = dict[str, Any]


@cache
def available() -> bool:
    """Whether an image can be built here, and run as in a pod: a sandbox may forbid mounts."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "debootstrap"))):
        return False
    mount = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run([*NAMESPACES, *mount], capture_output=True, check=False)
    if tried.returncode != 0:
        print(f"NOT TESTED: the image; no mounts here: {tried.stderr.decode()}", file=sys.stderr)
    return tried.returncode == 0


def buildah(*arguments: str) -> str:
    """What it prints; fails with what it says."""
    store = ["--root", str(CACHE / "storage"), "--runroot", "/run/fractal-image-test"]
    done = subprocess.run(
        ["buildah", *store, *arguments],
        capture_output=True,
        text=True,
        timeout=10 * MINUTES,
        check=False,
    )
    assert done.returncode == 0, f"buildah {arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


@contextmanager
def container(image: str) -> Iterator[tuple[str, Path]]:
    """A container of an image: its name, and where its tree is mounted."""
    name = buildah("from", image)
    try:
        yield name, Path(buildah("mount", name))
    finally:
        buildah("rm", name)


@dataclass(frozen=True)
class Image:
    """An image of the store."""

    name: str

    @cached_property
    def _told(self) -> Obj:
        told: Obj = json.loads(buildah("inspect", "--type", "image", self.name))
        return told

    @property
    def config(self) -> Obj:
        """Its OCI configuration: User, Env, Entrypoint, Cmd, Labels, …"""
        config: Obj = self._told["OCIv1"]["config"]
        return config

    @property
    def layers(self) -> list[int]:
        """The sizes of its layers in bytes, the base's first."""
        return [int(each["size"]) for each in json.loads(self._told["Manifest"])["layers"]]

    @property
    def environ(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(each.split("=", 1) for each in self.config["Env"])


@contextmanager
def alone() -> Iterator[None]:
    """No other worker, of this run or another, builds or removes an image meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def there(name: str) -> bool:
    return name in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()


def base() -> Image:
    """The base image; made if this machine has none yet, which takes a minute."""
    with alone():
        if not there(BASE):
            make_base()
    return Image(BASE)


def make_base() -> None:
    with container("scratch") as (name, tree):
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree)]
        subprocess.run(command, check=True, timeout=10 * MINUTES, capture_output=True)
        for package in tree.glob("var/cache/apt/archives/*.deb"):
            package.unlink()
        buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", name)
        buildah("commit", "--quiet", name, BASE)


@contextmanager
def built(**arguments: str) -> Iterator[Image]:
    """The image of this checkout, with these build arguments: one for all workers of a run.

    Its last user removes it; each holds it by a container.
    """
    name = f"localhost/fractal-operator:{os.environ.get('PYTEST_XDIST_TESTRUNUID') or uuid4().hex}"
    given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    given.append(f"--build-arg=BASE={base().name}")
    if Path(AUTHORITIES).exists():  # whom this machine trusts, its builds trust, too
        given.append(f"--volume={AUTHORITIES}:{AUTHORITIES}:ro")
    with alone():
        if not there(name):
            where = ["--isolation=chroot", "--network=host"]
            buildah("build", *where, *given, "--tag", name, str(ROOT))
        hold = buildah("from", name)
    try:
        yield Image(name)
    finally:
        with alone():
            buildah("rm", hold)
            if name not in buildah("containers", "--format", "{{.ImageName}}").split():
                buildah("rmi", name)


class Pod(Operator):
    """A container of ``image`` as the kubelet would run it, with ``mounts`` in /mnt."""

    def __init__(
        self,
        image: Image,
        tree: Path,
        logfile: Path,
        environ: Mapping[str, str],
        mounts: Sequence[Path] = (),
    ) -> None:
        super().__init__({**image.environ, "HOME": "/", **environ}, logfile)
        user, group = image.config["User"].split(":")
        inside = [str(tree), user, group, " ".join(map(str, mounts))]
        self._shell = [*NAMESPACES, "sh", "-c", IN_POD, "pod", *inside]
        self._default = [*image.config["Entrypoint"], *image.config["Cmd"]]

    def within(self, arguments: Sequence[str]) -> list[str]:
        """What runs ``arguments`` in it."""
        variables = [f"{name}={value}" for name, value in self.environ.items()]
        return [*self._shell, *variables, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command in it, to its end."""
        return subprocess.run(
            self.within(arguments), capture_output=True, text=True, timeout=MINUTES, check=False
        )

    def start(self) -> "Pod":
        with self.logfile.open("ab") as log:
            self._process = subprocess.Popen(
                self.within(self._default), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return self

    @property
    def first(self) -> int:
        """The process that is number 1 inside, by its number outside."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        (child,) = children.read_text().split()
        return int(child)

    def stop(self) -> int:
        """SIGTERM to process 1; its exit code. Fails unless it ends in time."""
        assert self._process is not None
        os.kill(self.first, signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)
