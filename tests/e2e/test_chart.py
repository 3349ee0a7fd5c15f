"""The chart on a real API server: its life by Helm, and the operator with no more than its rights.

Collected only when E2E_KUBECONFIG names a server: the stand-in knows neither RBAC nor Deployments.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import helm_python as helm
import pytest
from tests.e2e.api import PATIENCE, Api, install_crd, retried
from tests.e2e.rights import (
    CHART,
    RELEASE,
    TIMEOUT,
    UNCHECKED,
    Obj,
    charts_rights,
    get,
    granted,
    used,
)
from tests.e2e.stack import World, container, until

from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL

CRD = f"{PLURAL}.{GROUP}"
CLUSTERS = "clusterrole,clusterrolebinding"

pytestmark = pytest.mark.alone  # each has the CRD, or every namespace, to itself


def monitoring_kind(kind: str, plural: str) -> "Obj":
    """A CRD as the Prometheus operator installs one, without its schema."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "x-kubernetes-preserve-unknown-fields": True,
                        }
                    },
                }
            ],
        },
    }


def workers(api: Api, namespace: str) -> str:
    """FRACTAL_WORKERS of the Deployment."""
    found = get(api, "-n", namespace, "deployment", RELEASE)
    assert found is not None
    [operator] = found["spec"]["template"]["spec"]["containers"]
    return next(str(x["value"]) for x in operator["env"] if x["name"] == "FRACTAL_WORKERS")


@pytest.fixture
def config(api: Api, namespace: str) -> Iterator[helm.Config]:
    """Helm at the server; what it has installed in the namespace is uninstalled in the end."""
    with helm.Config(kubeconfig_path=api.kubeconfig, namespace=namespace) as made:
        yield made
        for release in made.list():
            made.uninstall(str(release["name"]), timeout=TIMEOUT)


@contextmanager
def without_crd(api: Api) -> Iterator[None]:
    """The server as nobody has installed the CRD; afterwards it is there as for other tests."""

    def remove() -> None:
        for item in (get(api, PLURAL, "-A") or {"items": []})["items"]:
            meta = item["metadata"]
            which = ("fc", meta["name"], "-n", meta["namespace"])
            api.kubectl("patch", *which, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        deleted = api.kubectl("delete", "crd", CRD, "--ignore-not-found", PATIENCE)
        assert deleted.returncode == 0, deleted.stderr

    remove()
    try:
        yield
    finally:
        remove()
        install_crd(api)


def test_install_upgrade_rollback_uninstall_and_install_again(
    api: Api, namespace: str, config: helm.Config
) -> None:
    with without_crd(api):
        installed = config.install(CHART, RELEASE, UNCHECKED, timeout=TIMEOUT)
        assert (installed["revision"], installed["status"]) == (1, "deployed")
        assert "kubectl" in str(installed["notes"])
        manifest = get(api, "crd", CRD)
        assert manifest is not None
        assert ("x-kubernetes-validations" in json.dumps(manifest)) is api.cel
        assert workers(api, namespace) == "16"
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "ada", "namespace": namespace},
            "spec": container(),
        }
        assert retried(api, "apply", "-f", "-", stdin=json.dumps(body)).returncode == 0

        changed = {"settings": {"workers": 3}} | UNCHECKED
        upgraded = config.upgrade(CHART, RELEASE, changed, timeout=TIMEOUT)
        assert (upgraded["revision"], upgraded["status"]) == (2, "deployed")
        assert workers(api, namespace) == "3"

        config.rollback(RELEASE, version=1, timeout=TIMEOUT)
        assert workers(api, namespace) == "16"
        history = [(each["revision"], each["status"]) for each in config.history(RELEASE)]
        assert history == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

        all_of_it = {("Deployment", RELEASE), ("ClusterRole", f"{namespace}:{RELEASE}")}
        assert left(api, namespace) > all_of_it
        config.uninstall(RELEASE, timeout=TIMEOUT)
        until(lambda: not left(api, namespace), "all of it is gone")
        kept = get(api, "-n", namespace, "fc", "ada")
        assert kept is not None
        assert kept["spec"]["user"] == "ada@example.org"

        with pytest.raises(helm.HelmReleaseError, match="release-name"):  # the CRD has an owner
            config.install(CHART, "another", UNCHECKED, timeout=TIMEOUT)
        again = config.install(CHART, RELEASE, UNCHECKED, timeout=TIMEOUT)
        assert again["status"] == "deployed"
        assert get(api, "-n", namespace, "fc", "ada") is not None


def left(api: Api, namespace: str) -> set[tuple[str, str]]:
    """Kind and name of what is there of the namespace's release; not of another test's, whose
    namespace may still be going."""
    found = set()
    of_release = ("-l", f"app.kubernetes.io/instance={RELEASE}")
    for kinds in ("deployment,service,serviceaccount,role,rolebinding", CLUSTERS):
        listed = get(api, "-n", namespace, kinds, *of_release)
        assert listed is not None
        found |= {(each["kind"], each["metadata"]["name"]) for each in listed["items"]}
    ours = f"{namespace}:{RELEASE}"
    return {(kind, name) for kind, name in found if name == ours or not kind.startswith("Cluster")}


def test_the_database_is_migrated_before_the_operator_starts(
    api: Api, namespace: str, config: helm.Config
) -> None:
    """No controller runs Jobs here, so the test says when the migration is done."""
    values = {"crds": {"enabled": False}, "database": {"existingSecret": "db"}} | UNCHECKED
    installing = threading.Thread(
        target=config.install, args=(CHART, RELEASE, values), kwargs={"timeout": TIMEOUT}
    )
    job = ("-n", namespace, "job", f"{RELEASE}-migrate")
    installing.start()
    try:
        until(lambda: get(api, *job), "the migration is started")
        assert get(api, "-n", namespace, "deployment", RELEASE) is None
    finally:
        done = {"status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps(done))
        patched = api.kubectl("patch", *job, *patch)
        installing.join(2 * TIMEOUT)
    assert patched.returncode == 0, patched.stderr
    assert get(api, "-n", namespace, "deployment", RELEASE) is not None
    until(lambda: get(api, *job) is None, "the Job is removed")


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules")],
)
def test_what_the_prometheus_operator_reads_appears_with_its_kind(
    api: Api, namespace: str, config: helm.Config, kind: str, plural: str
) -> None:
    values = {"crds": {"enabled": False}, "grafanaDashboard": {"enabled": True}} | UNCHECKED
    manifest = str(config.install(CHART, RELEASE, values, timeout=TIMEOUT)["manifest"])
    assert f"kind: {kind}" not in manifest
    assert get(api, "-n", namespace, "configmap", f"{RELEASE}-dashboard") is not None
    crd = json.dumps(monitoring_kind(kind, plural))
    assert api.kubectl("apply", "-f", "-", stdin=crd).returncode == 0
    try:
        assert retried(api, "get", plural, "-A").returncode == 0
        with helm.Config(kubeconfig_path=api.kubeconfig, namespace=namespace) as fresh:
            fresh.upgrade(CHART, RELEASE, values, timeout=TIMEOUT)
        assert get(api, "-n", namespace, plural, RELEASE) is not None
    finally:
        api.kubectl("delete", "crd", f"{plural}.monitoring.coreos.com", PATIENCE)


def test_the_allow_list_holds_at_the_api_server_as_long_as_the_release_says_so(
    api: Api, namespace: str, config: helm.Config
) -> None:
    there = api.version >= (1, 30)
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "ada", "namespace": namespace},
        "spec": container(),
    }

    def refused() -> bool:
        done = api.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body))
        return "is not allowed in namespace" in done.stderr

    def values(image: str) -> Obj:
        rules = [{"namespaces": [namespace], "images": [image]}]
        watch = {"namespaces": [namespace]}
        return {"crds": {"enabled": False}, "watch": watch, "allow": rules} | UNCHECKED

    config.install(CHART, RELEASE, values("elsewhere.example.com/*"), timeout=TIMEOUT)
    until(lambda: refused() is there, "the list is in force where the server has the kind")
    config.upgrade(CHART, RELEASE, values("registry.example.com/*"), timeout=TIMEOUT)
    until(lambda: not refused(), "the wider list is in force")
    config.rollback(RELEASE, version=1, timeout=TIMEOUT)
    until(lambda: refused() is there, "the first list is in force again")
    config.uninstall(RELEASE, timeout=TIMEOUT)
    until(lambda: not refused(), "the list is gone with the release")


# --- the operator with the chart's rights ---


@pytest.fixture(params=["everywhere", "named namespaces"])
def named(request: pytest.FixtureRequest) -> bool:
    """Whether the chart is told which namespaces to watch."""
    return bool(request.param == "named namespaces")


@pytest.fixture
def restricted(world: World, named: bool) -> Iterator[World]:
    """A world whose way to the API server has the rights that the chart gives, and no other."""
    with charts_rights(world, [world.namespace] if named else []):
        yield world


def test_the_charts_rights_are_enough_for_whole_lives_and_all_are_needed(
    restricted: World, named: bool
) -> None:
    world = restricted
    operator = world.start(
        install_id="",
        namespaces=world.namespace if named else "",
        leader_election="true",
        release_name=RELEASE,
        release_namespace=world.namespace,
    )
    ends_by_itself = {"restartPolicy": "Never", "timeouts": {"ttlSecondsAfterFinished": 0}}
    world.apply("ada")
    world.apply("short", container(**ends_by_itself))
    world.wait_ready("ada", "short")
    world.ecs.stop_task(world.status("short")["tasks"][0]["arn"])
    world.until_gone("short")
    world.kubectl("delete", "fc", "ada", PATIENCE)
    tasks = [each for each in world.ecs.tasks() if each["clusterArn"] == world.cluster_arn]
    assert [each["live"] for each in tasks] == [False, False]
    assert operator.ended is None

    refused = [each for each in world.proxy.requests if each.code in (401, 403)]
    assert refused == []
    needed = {right for each in world.proxy.requests if (right := used(each))}
    assert needed == granted(world.api, world.namespace)
