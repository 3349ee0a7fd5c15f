"""helm --wait on a real API server: Helm 4 judges a FractalContainer by kstatus, as Flux does.

Collected only when E2E_KUBECONFIG names a server: the stand-in knows no server-side apply.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
from tests.e2e.rights import TIMEOUT
from tests.e2e.stack import Obj, World, container

RELEASE = "apps"
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: apps\nversion: 0.1.0\n",
    "templates/container.yaml": (
        "apiVersion: fractal.co/v1alpha1\nkind: FractalContainer\nmetadata:\n  name: ada\n"
        "spec:\n  {{- toYaml .Values.spec | nindent 2 }}\n"
    ),
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A chart of one container, whose spec is the value ``spec``."""
    folder = tmp_path / "chart"
    for name, text in CHART.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def config(world: World) -> Iterator[helm.Config]:
    """Helm in the namespace of the world."""
    with helm.Config(kubeconfig_path=world.api.kubeconfig, namespace=world.namespace) as made:
        yield made


def values(**changes: Any) -> Obj:
    return {"spec": container(**changes)}


def test_helm_waits_until_a_container_is_as_wanted(
    world: World, chart: Path, config: helm.Config
) -> None:
    world.start()
    config.install(chart, RELEASE, values(), wait="watcher", timeout=TIMEOUT)
    assert world.condition("ada", "Ready").get("status") == "True"

    edits: tuple[tuple[str, Obj], ...] = (
        ("Running", {"dpi": 120}),
        ("Suspended", {"operatingMode": "Suspended"}),
        ("Running", {"dpi": 140}),
        ("Suspended", {"dpi": 160, "operatingMode": "Suspended"}),
    )
    early = []
    for phase, changes in edits:
        config.upgrade(chart, RELEASE, values(**changes), wait="watcher", timeout=TIMEOUT)
        found = world.get("ada")
        assert found is not None
        alive = len(world.tasks(live=True))
        if (found["status"]["phase"], alive) != (phase, 1 if phase == "Running" else 0):
            early.append(found)
        world.until_phase("ada", phase)
    # Helm's first list comes from the API server's cache, which rarely is older than Helm's edit.
    assert len(early) <= 1, early


def test_helm_fails_if_a_container_does(world: World, chart: Path, config: helm.Config) -> None:
    world.start()
    with pytest.raises(helm.HelmError, match="Failed"):
        config.install(
            chart, RELEASE, values(cluster="no-such-cluster"), wait="watcher", timeout=TIMEOUT
        )
    assert world.condition("ada", "Stalled")["reason"] == "ClusterNotFound"


def test_helm_does_not_take_a_fresh_object_for_done(
    world: World, chart: Path, config: helm.Config
) -> None:
    # No operator: nobody has looked at the object.
    with pytest.raises(helm.HelmError, match="InProgress"):
        config.install(chart, RELEASE, values(), wait="watcher", timeout=15)
    assert world.status("ada") == {"observedGeneration": -1}
