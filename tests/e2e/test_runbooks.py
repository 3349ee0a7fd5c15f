"""The commands of docs/runbooks that are about objects, run by bash as they stand there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.api import DEADLINE
from tests.e2e.stack import World

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
OF_THE_RELEASE = ("fractal-system", "deployments")
"""Commands about the operator's own pods need a cluster that runs pods."""


def commands() -> list[str]:
    """Every kubectl command, in a block or within a sentence, up to a pipe: what ``grep`` finds
    depends on what is wrong."""
    shown = "".join(page.read_text() for page in RUNBOOKS.glob("*.md"))
    inside = re.findall(r"^\$ (kubectl .*)$|`(kubectl -?[a-z]+ [^`]+)`", shown, re.MULTILINE)
    every = {(block or sentence).partition(" | ")[0] for block, sentence in inside}
    return sorted(each for each in every if not any(word in each for word in OF_THE_RELEASE))


@pytest.fixture
def ada(world: World) -> World:
    """A world with one object that runs."""
    world.start()
    world.apply("ada")
    world.wait_ready("ada")
    return world


def test_every_command_about_objects_works(ada: World) -> None:
    names = {"NAMESPACE": ada.namespace, "NAME": "ada", "UID": ada.uid("ada")}
    found = shutil.which(os.environ.get("KUBECTL") or "kubectl")
    assert found
    kubectl = f'kubectl() {{ "{found}" --kubeconfig "{ada.api.kubeconfig}" "$@"; }}'
    ran = 0
    for command in commands():
        script = re.sub(r"\b(NAMESPACE|NAME|UID)\b", lambda match: names[match[1]], command)
        done = subprocess.run(
            ["bash", "-e", "-u", "-c", f"{kubectl}\n{script}"],
            env={"PATH": os.environ["PATH"], "HOME": str(ada.api.home)},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        ran += 1
    assert ran >= 10
