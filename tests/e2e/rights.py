"""What the chart's own rights are: as granted, as used, and as credentials to act with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml
from tests.e2e.api import Api
from tests.e2e.proxy import Request, proxy
from tests.e2e.stack import World

CHART = Path(__file__).parents[2] / "charts" / "fractal-operator"
RELEASE = "fractal-operator"
TIMEOUT = 120
"""Seconds that Helm may take for anything."""

UNCHECKED = {"uninstallCheck": {"enabled": False}}
"""Values with which a release can be uninstalled where no controller runs its Job."""

Obj = dict[str, Any]
Right = tuple[str, str, str]
"""API group, resource and verb."""


def get(api: Api, *arguments: str) -> Obj | None:
    """kubectl get -o json; None when there is no such thing."""
    done = api.kubectl("get", *arguments, "-o", "json")
    if "NotFound" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    found: Obj = json.loads(done.stdout)
    return found


@contextmanager
def charts_rights(world: World, namespaces: list[str]) -> Iterator[None]:
    """Meanwhile the world's way to the API server has the rights that the chart gives, no other.

    ``namespaces`` are those that the chart is told to watch; none: everywhere.
    """
    with helm.Config(kubeconfig_path=world.api.kubeconfig, namespace=world.namespace) as config:
        values = {"crds": {"enabled": False}, "watch": {"namespaces": namespaces}} | UNCHECKED
        config.install(CHART, RELEASE, values, timeout=TIMEOUT)
        with credentials(world) as kubeconfig, proxy(str(kubeconfig)) as way:
            world.proxy = way
            yield
            for operator in world.operators:
                operator.kill()
        config.uninstall(RELEASE, timeout=TIMEOUT)


@contextmanager
def credentials(world: World) -> Iterator[Path]:
    """A kubeconfig with the service account's own token, where the server issues such tokens.

    Elsewhere the administrator acts as the service account, which the server then authorizes.
    """
    api, namespace, path = world.api, world.namespace, world.folder / "as-operator"
    body = yaml.safe_load(Path(api.kubeconfig).read_text())
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/{RELEASE}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    issued = api.kubectl("create", "--raw", account, "-f", "-", stdin=json.dumps(request))
    context = next(x for x in body["contexts"] if x["name"] == body["current-context"])["context"]
    if issued.returncode == 0:
        user = {"token": json.loads(issued.stdout)["status"]["token"]}
    else:
        own = next(x for x in body["users"] if x["name"] == context["user"])["user"]
        user = own | {"as": f"system:serviceaccount:{namespace}:{RELEASE}"}
    body["users"].append({"name": "account", "user": user})
    context["user"] = "account"
    path.write_text(yaml.safe_dump(body))
    asked = api.kubectl("--kubeconfig", str(path), "get", "secrets", "-n", namespace)
    assert "orbidden" in asked.stderr, asked  # these are not the administrator's rights
    yield path


def granted(api: Api, namespace: str) -> set[Right]:
    """What the release's own roles grant."""
    named = f"{namespace}:{RELEASE}"
    roles = [
        get(api, "clusterrole", named),
        get(api, "-n", namespace, "role", named),
        get(api, "-n", namespace, "role", f"{RELEASE}-leader"),
    ]
    return {
        (group, resource, verb)
        for role in roles
        if role is not None
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(request: Request) -> Right | None:
    """What a request needs; None for discovery, which is everybody's."""
    path, _, query = request.path.partition("?")
    match path.strip("/").split("/"):
        case ["api", _, *rest]:
            group = ""
        case ["apis", group, _, *rest]:
            pass
        case _:
            return None
    match rest:
        case ["namespaces", _, resource, *names] | [resource, *names]:
            pass
        case _:
            return None
    if len(names) == 2:
        resource = f"{resource}/{names[1]}"
    if request.method == "GET":
        verb = "watch" if "watch=" in query else "get" if names else "list"
    else:
        verbs = {"PATCH": "patch", "POST": "create", "PUT": "update", "DELETE": "delete"}
        verb = verbs[request.method]
    return group, resource, verb
