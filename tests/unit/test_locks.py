"""The image is built from the very packages that the tests run with, and from no others."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+)((?: \\\n +--hash=\S+)+)", re.MULTILINE)


def locked(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes by package."""
    return {
        package: (version, frozenset(re.findall(r"--hash=(\S+)", hashes)))
        for package, version, hashes in PINNED.findall((ROOT / name).read_text())
    }


def test_the_images_packages_are_those_of_the_tests() -> None:
    everything, image = locked("requirements.lock"), locked("requirements-image.lock")
    assert image.items() <= everything.items()


def test_the_image_has_what_the_operator_needs_and_no_stand_in() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    image = locked("requirements-image.lock").keys()

    def named(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[><=]", each)[0] for each in requirements}

    needed = named(project["project"]["dependencies"])
    assert needed <= image
    stand_ins = named(project["project"]["optional-dependencies"]["dev"]) - {"aiohttp"}  # kopf's
    assert stand_ins
    assert not stand_ins & image
    tested = named([each for each in project["dependency-groups"]["test"] if isinstance(each, str)])
    assert not tested & image
