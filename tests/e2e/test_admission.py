"""The API server and the model agree on what a FractalContainer may be, and say so in words."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from tests.e2e.api import Api
from tests.spec_cases import BAD, GOOD, Bad, definition, template
from tests.unit.test_container_status import FULL

from fractal_models.container import InvalidSpec, Status, parse_spec
from fractal_models.crd import UNSEEN
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
JSON = {"Content-Type": "application/json"}
Submit = Callable[[Any], dict[str, Any]]


class Refused(Exception):
    """The server answered 422 (or 400 for what is no manifest at all)."""


@pytest.fixture(scope="module")
def submit(api: Api) -> Iterator[Submit]:
    """Sends a spec as a dry run; gives the spec as the server would store it, or raises Refused."""
    with api.client() as connection:
        objects = client.CustomObjectsApi(connection)

        def send(spec: Any) -> dict[str, Any]:
            body = manifest(spec)
            try:
                stored: Any = objects.create_namespaced_custom_object(
                    GROUP, VERSION, "default", PLURAL, body, dry_run="All", _headers=JSON
                )
            except ApiException as error:
                if error.status not in (400, 422):
                    raise
                raise Refused(json.loads(error.body or "{}")["message"]) from error
            return dict(stored["spec"])

        yield send


def manifest(spec: Any, name: str = "admission") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def enforced(api: Api, case: Bad) -> bool:
    return case.by in ("schema", "one-of") or (case.by == "rule" and api.cel)


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD.keys())
def test_a_good_spec_is_stored_and_means_the_same_there(submit: Submit, spec: Any) -> None:
    stored = submit(spec)
    assert parse_spec(stored) == parse_spec(spec)


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_spec_is_refused_where_the_server_can(api: Api, submit: Submit, case: Bad) -> None:
    if enforced(api, case):
        with pytest.raises(Refused) as caught:
            submit(case.spec)
        if api.cel or case.by == "schema":
            # servers before 1.25 name no index, and call what is no object by the kind's name
            place = case.says if api.version >= (1, 25) else case.says.partition("[")[0]
            assert place in str(caught.value)
    else:
        stored = submit(case.spec)
        with pytest.raises(InvalidSpec, match="spec"):
            parse_spec(stored)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_can_be_applied(api: Api, namespace: str, path: Path) -> None:
    done = api.kubectl("apply", "-n", namespace, "-f", str(path))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_server_fills_in_the_defaults_of_the_model(submit: Submit) -> None:
    stored = submit(template(ports=[{"name": "a", "containerPort": 1}]))
    assert stored == {
        "template": {
            "image": "nginx:1",
            "cpuUnits": 256,
            "memoryMiB": 512,
            "ports": [{"name": "a", "containerPort": 1, "protocol": "tcp"}],
        },
        "operatingMode": "Running",
        "restartPolicy": "Always",
        "backoffLimit": 6,
        "updateStrategy": "Recreate",
        "deletionPolicy": "Delete",
        "timeouts": {"provisioningSeconds": 1800, "startSeconds": 600},
    }


def test_unknown_fields_are_pruned_so_that_the_operator_never_sees_them(submit: Submit) -> None:
    stored = submit(definition(bogus=1, network={"bogus": 1}))
    assert "bogus" not in json.dumps(stored)
    assert parse_spec(stored) == parse_spec(definition(network={}))


def test_kubectl_warns_of_an_unknown_field(api: Api, namespace: str) -> None:
    text = yaml.safe_dump(manifest(definition(bogus=1)))
    done = api.kubectl("create", "-n", namespace, "-f", "-", stdin=text)
    assert done.returncode != 0
    assert "bogus" in done.stderr


def test_an_object_without_a_spec_is_refused(api: Api) -> None:
    body = manifest({})
    del body["spec"]
    done = api.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(body))
    assert done.returncode != 0
    assert "spec" in done.stderr


def test_what_the_operator_writes_into_status_is_stored_whole_and_shown(
    api: Api, namespace: str
) -> None:
    text = yaml.safe_dump(manifest(definition(user="ada@example.org"), "shown"))
    assert api.kubectl("create", "-n", namespace, "-f", "-", stdin=text).returncode == 0
    with api.client() as connection:
        client.CustomObjectsApi(connection).patch_namespaced_custom_object_status(
            GROUP, VERSION, namespace, PLURAL, "shown", {"status": FULL.to_json()}
        )
    got = json.loads(api.kubectl("get", "fc", "shown", "-n", namespace, "-o", "json").stdout)
    assert got["status"] == FULL.to_json()
    assert Status.from_json(got["status"]) == FULL

    head, row = api.kubectl("get", "fractal", "-n", namespace).stdout.splitlines()
    assert head.split() == ["NAME", "READY", "PHASE", "USER", "ENDPOINT", "AGE"]
    assert row.split()[:5] == ["shown", "True", "Running", "ada@example.org", "203.0.113.7"]
    head, row = api.kubectl("get", "fcs", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert head.split()[6:] == ["TASK", "PLACEMENT", "REASON"]
    assert row.split()[6:] == ["t2", "FARGATE", "TaskRunning"]


def test_a_status_cannot_be_written_through_the_spec_nor_grow_without_bound(
    api: Api, namespace: str
) -> None:
    body = manifest(definition(), "bounded") | {"status": {"phase": "Running"}}
    text = yaml.safe_dump(body)
    assert api.kubectl("create", "-n", namespace, "-f", "-", stdin=text).returncode == 0
    got = json.loads(api.kubectl("get", "fc", "bounded", "-n", namespace, "-o", "json").stdout)
    assert got["status"] == UNSEEN
    with api.client() as connection, pytest.raises(ApiException) as caught:
        client.CustomObjectsApi(connection).patch_namespaced_custom_object_status(
            GROUP, VERSION, namespace, PLURAL, "bounded", {"status": {"message": "m" * 1025}}
        )
    assert caught.value.status == 422
