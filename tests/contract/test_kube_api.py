"""The Kubernetes API as the operator and its users need it.

Runs against the stand-in, or, with E2E_KUBECONFIG, against a real API server: the same cases prove
that the stand-in answers as real ones do. Where Kubernetes 1.20 differs a case says so.
"""

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import kopf
import pytest
from tests.contract.kube_cluster import (
    CRDS,
    DISCOVERY,
    GROUP,
    JSON_PATCH,
    NAMESPACES,
    PATIENCE,
    STRATEGIC,
    TABLE,
    Answer,
    Cluster,
    Kind,
    Obj,
    cluster,
    eventually,
)

CREATED, OK, BAD, FORBIDDEN, MISSING, CONFLICT, UNSUPPORTED, INVALID = (
    201, 200, 400, 403, 404, 409, 415, 422
)  # fmt: skip


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("kube")) as found:
        yield found


@pytest.fixture(scope="module")
def kind(kube: Cluster) -> Iterator[Kind]:
    made = Kind.fresh()
    define(kube, made, made.definition())
    yield made
    kube.call("DELETE", made.crd_path)


@pytest.fixture
def ns(kube: Cluster) -> Iterator[str]:
    name = f"standin-{uuid4().hex[:8]}"
    create_namespace(kube, name)
    yield name
    kube.call("DELETE", f"{NAMESPACES}/{name}")


def define(kube: Cluster, kind: Kind, definition: Obj) -> None:
    assert kube.call("POST", CRDS, definition).code == CREATED
    served(kube, kind)


def served(kube: Cluster, kind: Kind) -> None:
    """Wait for what real servers do a moment after a definition is there, one after the other: they
    serve the kind, call it established, tell of it in discovery, and can watch it."""
    path = kind.path("default")
    eventually(lambda: kube.call("GET", path).code == OK)
    eventually(lambda: conditions(kube, kind).get("Established") == "True")
    eventually(lambda: all(told_of(kube, kind, where) for where in (f"/apis/{GROUP}/v1", "/apis")))
    # Until the server has read what there is, it refuses a watch, and knows no version before.
    eventually(lambda: kube.call("GET", path, watch=1, timeoutSeconds=1).code == OK)


def conditions(kube: Cluster, kind: Kind) -> dict[str, str]:
    status = kube.call("GET", kind.crd_path).body.get("status", {})
    return {each["type"]: each["status"] for each in status.get("conditions", ())}


def told_of(kube: Cluster, kind: Kind, where: str) -> bool:
    """Whether kubectl would find the kind in this document; an old one holds groups only."""
    found = kube.call("GET", where, accept=DISCOVERY)
    if found.code != OK:
        return False
    name = GROUP if found.body["kind"] == "APIGroupList" else kind.plural
    return name in json.dumps(found.body)


def create_namespace(kube: Cluster, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    assert kube.call("POST", NAMESPACES, body).code == CREATED


def create(kube: Cluster, kind: Kind, ns: str, name: str, spec: Any = None, **meta: Any) -> Obj:
    made = kube.call("POST", kind.path(ns), kind.make(name, spec, **meta))
    assert made.code == CREATED, made
    body: Obj = made.body
    return body


def release(kube: Cluster, kind: Kind, ns: str, name: str) -> None:
    done = kube.patch(kind.path(ns, name), {"metadata": {"finalizers": None}})
    assert done.code == OK


def version_of(obj: Obj) -> str:
    version: str = obj["metadata"]["resourceVersion"]
    return version


def now(kube: Cluster, kind: Kind, ns: str) -> str:
    version: str = kube.call("GET", kind.path(ns)).meta["resourceVersion"]
    return version


def seen(events: list[Obj]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


class TestCreate:
    def test_server_sets_what_only_it_knows(self, kube: Cluster, kind: Kind, ns: str) -> None:
        mine = {
            "uid": "mine",
            "generation": 9,
            "creationTimestamp": "2020-01-01T00:00:00Z",
            "deletionTimestamp": "2020-01-01T00:00:00Z",
        }
        made = create(kube, kind, ns, "a", **mine)

        meta = made["metadata"]
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", meta["uid"])
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", meta["creationTimestamp"])
        assert meta["creationTimestamp"] > "2024"
        assert (meta["generation"], meta["namespace"]) == (1, ns)
        assert "deletionTimestamp" not in meta
        assert version_of(made).isdigit()

    def test_status_is_dropped(self, kube: Cluster, kind: Kind, ns: str) -> None:
        body = {**kind.make("a"), "status": {"phase": "Running"}}
        assert "status" not in kube.call("POST", kind.path(ns), body).body

    def test_name_is_generated(self, kube: Cluster, kind: Kind, ns: str) -> None:
        body = kind.make("")
        body["metadata"] = {"generateName": "made-"}
        made = [kube.call("POST", kind.path(ns), body).meta["name"] for _ in range(3)]
        assert len(set(made)) == 3
        assert all(re.fullmatch(r"made-[a-z0-9]{5}", name) for name in made)

    def test_defaults_are_filled_in(self, kube: Cluster, kind: Kind, ns: str) -> None:
        spec = {"image": "nginx", "size": None, "ports": [{"name": "web"}]}
        assert create(kube, kind, ns, "a", spec)["spec"] == {
            "image": "nginx",
            "size": 3,
            "mode": "Always",
            "ports": [{"name": "web", "protocol": "tcp"}],
        }

    def test_null_stays_only_where_allowed(self, kube: Cluster, kind: Kind, ns: str) -> None:
        spec = {"image": "nginx", "note": None, "plain": None, "tags": {"a": None, "b": "c"}}
        stored = create(kube, kind, ns, "a", spec)["spec"]
        assert stored["note"] is None
        assert stored["tags"] == {"b": "c"}
        assert "plain" not in stored

    def test_unknown_fields_are_pruned(self, kube: Cluster, kind: Kind, ns: str) -> None:
        spec = {"image": "nginx", "nope": 1, "free": {"any": {"thing": 1}}, "ports": []}
        made = kube.call("POST", kind.path(ns), kind.make("a", spec))
        assert made.body["spec"]["free"] == {"any": {"thing": 1}}
        assert "nope" not in made.body["spec"]
        told = ('299 - "unknown field \\"spec.nope\\""',) if kube.version >= (1, 25) else ()
        assert made.warnings == told

    def test_strict_validation_refuses_unknown_fields(
        self, kube: Cluster, kind: Kind, ns: str
    ) -> None:
        spec = {"image": "nginx", "nope": {"deep": 1}, "ports": [{"name": "a", "prt": 1}]}
        body = kind.make("a", spec)
        strict = kube.call("POST", kind.path(ns), body, fieldValidation="Strict")
        if kube.version < (1, 25):
            assert strict.code == CREATED
            return
        assert strict.code == BAD
        assert strict.body["reason"] == "BadRequest"
        assert strict.message == (
            f'{kind.kind} in version "v1" cannot be handled as a {kind.kind}: strict decoding '
            'error: unknown field "spec.nope", unknown field "spec.ports[0].prt"'
        )
        ignored = kube.call("POST", kind.path(ns), body, fieldValidation="Ignore")
        assert (ignored.code, ignored.warnings) == (CREATED, ())

    def test_dry_run_stores_nothing(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = kube.call("POST", kind.path(ns), kind.make("a"), dryRun="All")
        assert (made.code, made.body["spec"]["size"]) == (CREATED, 3)
        assert kube.call("GET", kind.path(ns, "a")).code == MISSING

    def test_refusals(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")

        def refused(body: Any, where: str = ns, media: str = "application/json") -> Answer:
            return kube.call("POST", kind.path(where), body, media=media)

        exists = refused(kind.make("a"))
        assert (exists.code, exists.body["reason"]) == (CONFLICT, "AlreadyExists")
        assert exists.message == f'{kind.crd_name} "a" already exists'
        homeless = refused(kind.make("b"), where="no-such-namespace")
        assert homeless.code == MISSING
        assert homeless.message == 'namespaces "no-such-namespace" not found'
        nameless = refused(kind.make(""))
        assert nameless.code == INVALID
        assert "metadata.name: Required value: name or generateName" in nameless.message
        badly = refused(kind.make("Bad_Name"))
        assert badly.code == INVALID
        assert "a lowercase RFC 1123 subdomain must consist of" in badly.message
        labelled = refused(kind.make("b", labels={"a": "no spaces"}))
        assert labelled.code == INVALID
        assert "metadata.labels: Invalid value" in labelled.message
        assert refused(kind.make("b", labels={"a": 1})).code == BAD
        assert refused({**kind.make("b"), "apiVersion": "other/v1"}).code == BAD
        assert refused({**kind.make("b"), "kind": "Other"}).code == INVALID
        assert refused(kind.make("b", namespace="elsewhere")).code == BAD
        assert refused("spec", media="text/plain").code == UNSUPPORTED


# What is wrong, the error in 1.25 and later, and where 1.20 says it in other words those.
NEW_AND_OLD: list[tuple[Any, str, str]] = [
    ({}, "spec.image: Required value", ""),
    ({"image": None}, "spec.image: Required value", ""),
    (
        {"image": 5},
        'spec.image: Invalid value: "integer": spec.image in body must be of type string: '
        '"integer"',
        "",
    ),
    ({"image": ""}, "spec.image in body should be at least 1 chars long", ""),
    (
        {"image": "abcdefghij"},
        "spec.image: Too long: may not be more than 9 bytes",
        "spec.image in body should be at most 9 chars long",
    ),
    ({"image": "A"}, 'spec.image: Invalid value: "A": spec.image in body should match \'^[', ""),
    ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or e", ""),
    ({"size": 11}, "spec.size in body should be less than or equal to 10", ""),
    ({"size": "3"}, 'spec.size in body must be of type integer: "string"', ""),
    ({"size": 1.5}, 'spec.size in body must be of type integer: "number"', ""),
    ({"ratio": 0}, "spec.ratio in body should be greater than 0", ""),
    (
        {"mode": "Often"},
        'spec.mode: Unsupported value: "Often": supported values: "Always", "Never"',
        "",
    ),
    ({"port": {}}, 'spec.port in body must be of type integer,string: "object"', ""),
    (
        {"tags": {"a": "a", "b": "b", "c": "c"}},
        "spec.tags: Too many: 3: must have at most 2 items",
        "spec.tags in body should have at most 2 properties",
    ),
    (
        {"tags": {"a": "abcdef"}},
        "spec.tags.a: Too long: may not be more than 5 bytes",
        "spec.tags.a in body should be at most 5 chars long",
    ),
    ({"zones": []}, "spec.zones in body should have at least 1 items", ""),
    (
        {"zones": ["a", "b", "c"]},
        "spec.zones: Too many: 3: must have at most 2 items",
        "spec.zones in body should have at most 2 items",
    ),
    ({"zones": ["a", "a"]}, 'spec.zones[1]: Duplicate value: "a"', ""),
    (
        {"zones": [1]},
        'spec.zones[0] in body must be of type string: "integer"',
        'spec.zones in body must be of type string: "integer"',
    ),
    (
        {"ports": [{"name": "a"}, {"name": "a"}]},
        'spec.ports[1]: Duplicate value: {"name":"a"}',
        'spec.ports[1]: Duplicate value: map[string]interface {}{"name":"a"}',
    ),
    ({"ports": [{}]}, "spec.ports[0].name: Required value", "spec.ports.name: Required value"),
    ({"when": "today"}, 'spec.when in body must be of type date-time: "today"', ""),
    ({"forbidden": "x"}, '"spec" must not validate the schema (not)', ""),
    ({"choice": {}}, '"spec.choice" must validate one and only one schema (oneOf). Found none', ""),
    ({"choice": {"left": "ab", "right": "c"}}, "(oneOf). Found 2 valid alternatives", ""),
    ({"choice": {"left": "a"}}, '"spec.choice" must validate all the schemas (allOf)', ""),
    (None, "spec: Required value", ""),
    ([], 'spec in body must be of type object: "array"', ""),
]


class TestValidation:
    @pytest.mark.parametrize(("wrong", "new", "old"), NEW_AND_OLD)
    def test_invalid_spec(
        self, kube: Cluster, kind: Kind, ns: str, wrong: Any, new: str, old: str
    ) -> None:
        spec = {"image": "nginx", **wrong} if isinstance(wrong, dict) and wrong else wrong
        body = kind.make("a")
        body["spec"] = spec
        refused = kube.call("POST", kind.path(ns), body)
        assert refused.code == INVALID
        assert refused.body["reason"] == "Invalid"
        assert refused.message.startswith(f'{kind.kind}.{GROUP} "a" is invalid: ')
        assert (old or new if kube.version < (1, 25) else new) in refused.message
        assert refused.body["details"]["causes"]

    def test_several_errors_are_told_together(self, kube: Cluster, kind: Kind, ns: str) -> None:
        spec = {"image": "nginx", "size": 0, "mode": "x"}
        refused = kube.call("POST", kind.path(ns), kind.make("a", spec))
        fields = {cause["field"] for cause in refused.body["details"]["causes"]}
        assert {"spec.size", "spec.mode"} <= fields

    def test_patched_object_is_validated(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        assert kube.patch(kind.path(ns, "a"), {"spec": {"size": 99}}).code == INVALID
        conditions = [{"type": "Ready", "status": "Perhaps"}]
        status = kube.patch(kind.path(ns, "a", "status"), {"status": {"conditions": conditions}})
        assert status.code == INVALID
        assert 'Unsupported value: "Perhaps"' in status.message

    def test_strict_patch(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        done = kube.patch(kind.path(ns, "a"), {"spec": {"nope": 1}}, fieldValidation="Strict")
        if kube.version < (1, 25):
            assert done.code == OK
            return
        assert done.code == INVALID
        assert done.message.endswith('strict decoding error: unknown field "spec.nope"')

    def test_rules_are_accepted(self, kube: Cluster, ns: str) -> None:
        """CEL rules: evaluated since 1.25, dropped by 1.20, kept and ignored by the stand-in."""
        kind = Kind.fresh()
        definition = kind.definition()
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        rule = {"rule": "self.image != 'bad'", "message": "not this image"}
        schema["properties"]["spec"]["x-kubernetes-validations"] = [rule]
        define(kube, kind, definition)
        made = kube.call("POST", kind.path(ns), kind.make("a", {"image": "bad"}))
        evaluated = kube.version >= (1, 25) and not kube.stand_in
        assert made.code == (INVALID if evaluated else CREATED)
        kube.call("DELETE", kind.crd_path)


class TestWrite:
    def test_generation_counts_spec_changes_only(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        path = kind.path(ns, "a")
        patches = [
            (path, {"spec": {"size": 4}}, 2),
            (path, {"metadata": {"labels": {"a": "b"}}}, 2),
            (path, {"metadata": {"annotations": {"a": "b"}, "finalizers": ["a.example/b"]}}, 2),
            (f"{path}/status", {"status": {"phase": "Running"}}, 2),
            (path, {"spec": {"size": 5}, "status": {"phase": "Other"}}, 3),
            (path, {"metadata": {"generation": 77}}, 3),
        ]
        for where, body, generation in patches:
            assert kube.patch(where, body).meta["generation"] == generation
        release(kube, kind, ns, "a")

    def test_each_endpoint_writes_its_own_part(self, kube: Cluster, kind: Kind, ns: str) -> None:
        first = create(kube, kind, ns, "a")
        main = kube.patch(kind.path(ns, "a"), {"status": {"phase": "Main"}})
        assert "status" not in main.body
        # 1.20 writes down who tried to set the field.
        assert (version_of(main.body) == version_of(first)) is (kube.version >= (1, 25))
        body = {
            "status": {"phase": "Sub"},
            "spec": {"size": 9},
            "metadata": {"labels": {"a": "b"}, "finalizers": ["a.example/b"]},
        }
        sub = kube.patch(kind.path(ns, "a", "status"), body).body
        assert sub["status"] == {"phase": "Sub"}
        assert sub["spec"]["size"] == 3
        assert not {"labels", "finalizers"} & set(sub["metadata"])
        kept = kube.patch(kind.path(ns, "a"), {"spec": {"size": 4}, "status": None}).body
        assert (kept["spec"]["size"], kept["status"]) == (4, {"phase": "Sub"})
        whole = kube.call("GET", kind.path(ns, "a", "status")).body
        assert whole == kube.call("GET", kind.path(ns, "a")).body

    def test_writing_what_is_there_changes_nothing(
        self, kube: Cluster, kind: Kind, ns: str
    ) -> None:
        create(kube, kind, ns, "a")
        status = {"status": {"phase": "Running"}}
        before = kube.patch(kind.path(ns, "a", "status"), status).body
        main, sub = kind.path(ns, "a"), kind.path(ns, "a", "status")
        replace = [{"op": "replace", "path": "/spec/image", "value": "nginx"}]
        for done in (
            kube.patch(main, {"spec": {"image": "nginx"}}),
            kube.patch(main, replace),
            kube.patch(sub, status),
            kube.call("PUT", main, before),
            kube.call("PUT", sub, before),
        ):
            assert (done.code, version_of(done.body)) == (OK, version_of(before))
        last = kube.patch(main, {"spec": {"size": 5}}).body
        [event] = kube.watch(kind.path(ns), 1, resourceVersion=version_of(before))
        assert version_of(event["object"]) == version_of(last)

    def test_stale_version_conflicts(self, kube: Cluster, kind: Kind, ns: str) -> None:
        old = create(kube, kind, ns, "a")
        current = kube.patch(kind.path(ns, "a"), {"spec": {"size": 5}}).body
        stale = {"metadata": {"resourceVersion": version_of(old)}}
        main, sub = kind.path(ns, "a"), kind.path(ns, "a", "status")
        for refused in (
            kube.patch(main, {**stale, "spec": {"size": 6}}),
            kube.patch(main, stale),
            kube.patch(sub, {**stale, "status": {"phase": "x"}}),
            kube.call("PUT", main, old),
            kube.call("PUT", sub, {**old, "status": {"phase": "x"}}),
        ):
            assert (refused.code, refused.body["reason"]) == (CONFLICT, "Conflict")
            assert "the object has been modified; please apply your changes" in refused.message
        fenced = {"metadata": {"resourceVersion": version_of(current)}, "spec": {"size": 6}}
        assert kube.patch(main, fenced).code == OK
        assert kube.patch(main, fenced).code == CONFLICT

    def test_uid_of_another(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a")
        main, sub = kind.path(ns, "a"), kind.path(ns, "a", "status")
        alien = {"metadata": {"uid": "another"}}
        refused = kube.patch(main, alien)
        assert refused.code == INVALID
        assert 'metadata.uid: Invalid value: "another": field is immutable' in refused.message
        replacement = {**made, "metadata": {"name": "a", "uid": "another"}}
        assert kube.call("PUT", main, replacement).code == CONFLICT
        assert kube.patch(main, {"metadata": {"uid": made["metadata"]["uid"]}}).code == OK
        # /status looks at no metadata but the resourceVersion, which no two objects share.
        assert kube.patch(sub, {**alien, "status": {"phase": "x"}}).code == OK
        fenced = {"metadata": {"uid": "another", "resourceVersion": version_of(made)}}
        assert kube.patch(sub, {**fenced, "status": {"phase": "y"}}).code == CONFLICT

    def test_merge_patch(self, kube: Cluster, kind: Kind, ns: str) -> None:
        spec = {"image": "nginx", "tags": {"a": "1", "b": "2"}, "zones": ["x", "y"]}
        create(kube, kind, ns, "a", spec)
        body = {"spec": {"tags": {"a": None, "c": "3"}, "zones": ["z"], "size": None}}
        spec = kube.patch(kind.path(ns, "a"), body).body["spec"]
        assert spec["tags"] == {"b": "2", "c": "3"}
        assert (spec["zones"], spec["size"]) == (["z"], 3)

    def test_json_patch(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a", {"image": "nginx", "zones": ["x"]})
        done = kube.patch(
            kind.path(ns, "a"),
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version_of(made)},
                {"op": "replace", "path": "/spec/image", "value": "redis"},
                {"op": "add", "path": "/spec/zones/-", "value": "y"},
                {"op": "copy", "from": "/spec/image", "path": "/spec/plain"},
                {"op": "move", "from": "/spec/plain", "path": "/spec/note"},
                {"op": "add", "path": "/metadata/annotations", "value": {"a.example/b": "c"}},
                {"op": "remove", "path": "/metadata/annotations/a.example~1b"},
                {"op": "add", "path": "/metadata/finalizers", "value": ["a.example/b"]},
                {"op": "add", "path": "/metadata/finalizers/0", "value": "a.example/a"},
            ],
        )
        assert done.code == OK, done
        spec, meta = done.body["spec"], done.meta
        assert (spec["image"], spec["zones"], spec["note"]) == ("redis", ["x", "y"], "redis")
        assert "plain" not in spec
        assert meta["finalizers"] == ["a.example/a", "a.example/b"]
        assert "annotations" not in meta
        release(kube, kind, ns, "a")

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "test", "path": "/spec/size", "value": 99},
            {"op": "test", "path": "/metadata/resourceVersion", "value": "1"},
            {"op": "remove", "path": "/spec/nope"},
            {"op": "replace", "path": "/spec/nope/deep", "value": 1},
            {"op": "add", "path": "/spec/nope/deep", "value": 1},
        ],
    )
    def test_json_patch_that_does_not_fit(
        self, kube: Cluster, kind: Kind, ns: str, operation: Obj
    ) -> None:
        before = create(kube, kind, ns, "a")
        change = {"op": "replace", "path": "/spec/image", "value": "redis"}
        refused = kube.patch(kind.path(ns, "a"), [change, operation])
        assert (refused.code, refused.body["reason"]) == (INVALID, "Invalid")
        assert kube.call("GET", kind.path(ns, "a")).body == before

    def test_refusals(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a")
        path = kind.path(ns, "a")
        assert kube.patch(kind.path(ns, "b"), {"spec": {"size": 4}}).code == MISSING
        assert kube.call("PUT", kind.path(ns, "b"), kind.make("b")).code == MISSING
        assert kube.patch(path, {"metadata": {"name": "b"}}).code == BAD
        assert kube.call("PATCH", path, {}, media=STRATEGIC).code == UNSUPPORTED
        assert kube.call("PATCH", path, {}, media="application/json").code == UNSUPPORTED
        unfenced = {**made, "metadata": {"name": "a"}}
        refused = kube.call("PUT", path, unfenced)
        assert refused.code == INVALID
        assert "metadata.resourceVersion: Invalid value" in refused.message
        nameless = kube.call("PUT", path, {**made, "metadata": {}})
        assert (nameless.code, "name must be provided" in nameless.message) == (BAD, True)
        assert kube.call("PATCH", path, {"op": "add"}, media=STRATEGIC).code == UNSUPPORTED
        assert kube.patch(path, [{"op": "test"}]).code in (BAD, INVALID)


class TestDelete:
    def test_without_finalizers_it_is_gone(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a")
        done = kube.call("DELETE", kind.path(ns, "a"))
        assert (done.code, done.body["status"]) == (OK, "Success")
        assert done.body["details"]["uid"] == made["metadata"]["uid"]
        gone = kube.call("GET", kind.path(ns, "a"))
        assert gone.message == f'{kind.crd_name} "a" not found'
        assert kube.call("DELETE", kind.path(ns, "a")).code == MISSING

    def test_finalizers_hold_it(self, kube: Cluster, kind: Kind, ns: str) -> None:
        holders = ["a.example/a", "a.example/b"]
        create(kube, kind, ns, "a", finalizers=holders)
        path = kind.path(ns, "a")
        going = kube.call("DELETE", path)
        assert going.meta["deletionTimestamp"]
        assert (going.meta["deletionGracePeriodSeconds"], going.meta["generation"]) == (0, 2)
        again = kube.call("DELETE", path)
        assert version_of(again.body) == version_of(going.body)

        refused = kube.patch(path, {"metadata": {"finalizers": [*holders, "a.example/c"]}})
        assert refused.code == INVALID
        assert "no new finalizers can be added if the object is being deleted" in refused.message
        exists = kube.call("POST", kind.path(ns), kind.make("a"))
        assert exists.code == CONFLICT
        assert exists.message.startswith("object is being deleted: ")
        assert kube.patch(path, {"metadata": {"deletionTimestamp": None}}).code == OK
        status = kube.patch(f"{path}/status", {"status": {"phase": "Stopping"}})
        assert status.body["status"] == {"phase": "Stopping"}
        one = kube.patch(path, {"metadata": {"finalizers": holders[1:]}})
        assert one.meta["deletionTimestamp"] == going.meta["deletionTimestamp"]
        last = kube.patch(path, [{"op": "remove", "path": "/metadata/finalizers"}])
        assert (last.code, "finalizers" in last.meta) == (OK, False)
        assert kube.call("GET", path).code == MISSING

    def test_status_cannot_be_deleted(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        assert kube.call("DELETE", kind.path(ns, "a", "status")).code == 405
        assert kube.call("GET", kind.path(ns, "a")).code == OK

    def test_preconditions(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a")
        path = kind.path(ns, "a")
        for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
            refused = kube.call("DELETE", path, {"preconditions": wrong})
            assert (refused.code, refused.body["reason"]) == (CONFLICT, "Conflict")
            assert "in the precondition" in refused.message
        right = {"uid": made["metadata"]["uid"], "resourceVersion": version_of(made)}
        assert kube.call("DELETE", path, {"preconditions": right}).code == OK

    def test_many_by_label(self, kube: Cluster, kind: Kind, ns: str) -> None:
        for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
            create(kube, kind, ns, name, labels={"l": label})
        assert kube.call("DELETE", kind.path(ns), labelSelector="l=x").code == OK
        assert kube.call("GET", kind.path(ns)).names == ["c"]


class TestList:
    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({"labelSelector": "app=web"}, "ab"),
            ({"labelSelector": "app==web,tier!=back"}, "a"),
            ({"labelSelector": "app!=web"}, "cd"),
            ({"labelSelector": "tier in (front, back)"}, "ab"),
            ({"labelSelector": "tier notin (front)"}, "bcd"),
            ({"labelSelector": "tier"}, "ab"),
            ({"labelSelector": "!tier"}, "cd"),
            ({"fieldSelector": "metadata.name=c"}, "c"),
            ({"fieldSelector": "metadata.name!=c"}, "abd"),
            ({"fieldSelector": "metadata.namespace=elsewhere"}, ""),
            ({"labelSelector": "app=web", "fieldSelector": "metadata.name=b"}, "b"),
        ],
    )
    def test_selectors(
        self, kube: Cluster, kind: Kind, ns: str, query: dict[str, str], names: str
    ) -> None:
        create(kube, kind, ns, "a", labels={"app": "web", "tier": "front"})
        create(kube, kind, ns, "b", labels={"app": "web", "tier": "back"})
        create(kube, kind, ns, "c", labels={"app": "db"})
        create(kube, kind, ns, "d")
        assert kube.call("GET", kind.path(ns), **query).names == list(names)

    def test_bad_selectors(self, kube: Cluster, kind: Kind, ns: str) -> None:
        assert kube.call("GET", kind.path(ns), labelSelector="a in").code == BAD
        refused = kube.call("GET", kind.path(ns), fieldSelector="spec.image=x")
        assert refused.code == BAD
        assert "field label not supported: spec.image" in refused.message

    def test_pages(self, kube: Cluster, kind: Kind, ns: str) -> None:
        for name in "abcde":
            create(kube, kind, ns, name)
        first = kube.call("GET", kind.path(ns), limit=2)
        assert (first.names, first.meta["remainingItemCount"]) == (["a", "b"], 3)
        second = kube.call("GET", kind.path(ns), limit=2, **{"continue": first.meta["continue"]})
        third = kube.call("GET", kind.path(ns), limit=2, **{"continue": second.meta["continue"]})
        assert (second.names, third.names) == (["c", "d"], ["e"])
        assert not third.meta.get("continue")
        assert third.meta["resourceVersion"] == first.meta["resourceVersion"]
        assert kube.call("GET", kind.path(ns), **{"continue": "rubbish"}).code == BAD

    def test_all_namespaces(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        create(kube, kind, "default", "b")
        listed = kube.call("GET", f"/apis/{GROUP}/v1/{kind.plural}")
        assert listed.body["kind"] == f"{kind.kind}List"
        assert listed.body["apiVersion"] == f"{GROUP}/v1"
        homes = {(item["metadata"]["namespace"], item["metadata"]["name"])
                 for item in listed.body["items"]}  # fmt: skip
        assert {(ns, "a"), ("default", "b")} <= homes
        kube.call("DELETE", kind.path("default", "b"))


class TestWatch:
    def test_resumes_after_a_version(self, kube: Cluster, kind: Kind, ns: str) -> None:
        start = now(kube, kind, ns)
        create(kube, kind, ns, "a", finalizers=["a.example/b"])
        kube.patch(kind.path(ns, "a"), {"spec": {"size": 4}})
        kube.patch(kind.path(ns, "a", "status"), {"status": {"phase": "Running"}})
        create(kube, kind, ns, "b")
        kube.call("DELETE", kind.path(ns, "a"))
        release(kube, kind, ns, "a")

        events = kube.watch(kind.path(ns), 6, resourceVersion=start)

        assert seen(events) == [
            ("ADDED", "a"),
            ("MODIFIED", "a"),
            ("MODIFIED", "a"),
            ("ADDED", "b"),
            ("MODIFIED", "a"),
            ("DELETED", "a"),
        ]
        versions = [int(version_of(event["object"])) for event in events]
        assert versions == sorted(set(versions))
        assert events[4]["object"]["metadata"]["deletionTimestamp"]
        later = kube.watch(kind.path(ns), 1, resourceVersion=str(versions[3]))
        assert version_of(later[0]["object"]) == str(versions[4])

    def test_begins_with_what_is_there(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        create(kube, kind, ns, "b")
        for query in ({}, {"resourceVersion": "0"}):
            events = kube.watch(kind.path(ns), 2, **query)
            assert sorted(seen(events)) == [("ADDED", "a"), ("ADDED", "b")]

    def test_tells_changes_at_once(self, kube: Cluster, kind: Kind, ns: str) -> None:
        async def scenario() -> list[Obj]:
            found = await kube.call_async("GET", kind.path(ns))
            version = found.meta["resourceVersion"]
            async with kube.watching(kind.path(ns), resourceVersion=version) as events:
                got = []
                for name in "ab":
                    await kube.call_async("POST", kind.path(ns), kind.make(name))
                    got.append(await anext(events))
                return got

        events = kube.run(asyncio.wait_for(scenario(), PATIENCE))
        assert seen(events) == [("ADDED", "a"), ("ADDED", "b")]

    def test_object_that_leaves_the_selector_is_deleted(
        self, kube: Cluster, kind: Kind, ns: str
    ) -> None:
        start = now(kube, kind, ns)
        create(kube, kind, ns, "a", labels={"l": "in"})
        out = kube.patch(kind.path(ns, "a"), {"metadata": {"labels": {"l": "out"}}}).body
        kube.patch(kind.path(ns, "a"), {"metadata": {"labels": {"l": "in"}}})
        events = kube.watch(kind.path(ns), 3, resourceVersion=start, labelSelector="l=in")
        assert seen(events) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
        assert version_of(events[1]["object"]) == version_of(out)
        assert events[1]["object"]["metadata"]["labels"] == {"l": "in"}

    def test_one_object_by_name(self, kube: Cluster, kind: Kind, ns: str) -> None:
        start = now(kube, kind, ns)
        create(kube, kind, ns, "a")
        create(kube, kind, ns, "b")
        kube.call("DELETE", kind.path(ns, "b"))
        query = {"resourceVersion": start, "fieldSelector": "metadata.name=b"}
        events = kube.watch(kind.path(ns), 2, **query)
        assert seen(events) == [("ADDED", "b"), ("DELETED", "b")]

    def test_version_that_is_too_old(self, kube: Cluster, kind: Kind, ns: str) -> None:
        [event] = kube.watch(kind.path(ns), 1, resourceVersion="1")
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")

    def test_ends_after_its_time(self, kube: Cluster, kind: Kind, ns: str) -> None:
        async def scenario() -> list[Obj]:
            async with kube.watching(kind.path(ns), timeoutSeconds=1) as events:
                return [event async for event in events]

        create(kube, kind, ns, "a")

        def told() -> list[tuple[str, str]]:
            return seen(kube.run(asyncio.wait_for(scenario(), PATIENCE)))

        # A server that stands still for that second tells nothing in it.
        assert eventually(told) == [("ADDED", "a")]


class TestForms:
    def test_table(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        kube.patch(kind.path(ns, "a", "status"), {"status": status})
        create(kube, kind, ns, "b")
        table = kube.call("GET", kind.path(ns), accept=TABLE).body
        assert table["kind"] == "Table"
        columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
        assert columns == [
            ("Name", "string", 0),
            ("Ready", "string", 0),
            ("Size", "integer", 0),
            ("Phase", "string", 1),
            ("Age", "date", 0),
        ]
        cells = [row["cells"] for row in table["rows"]]
        assert [row[:4] for row in cells] == [["a", "True", 3, "Running"], ["b", None, 3, None]]
        assert all(re.fullmatch(r"\d+s", row[4]) for row in cells)
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        one = kube.call("GET", kind.path(ns, "a"), accept=TABLE, includeObject="Object").body
        assert one["rows"][0]["object"]["spec"]["image"] == "nginx"

    def test_table_of_a_watch(self, kube: Cluster, kind: Kind, ns: str) -> None:
        start = now(kube, kind, ns)
        create(kube, kind, ns, "a")
        kube.patch(kind.path(ns, "a"), {"spec": {"size": 7}})
        events = kube.watch(kind.path(ns), 2, accept=TABLE, resourceVersion=start)
        tables = [event["object"] for event in events]
        assert [table["rows"][0]["cells"][2] for table in tables] == [3, 7]
        assert tables[0]["columnDefinitions"]
        assert tables[1]["columnDefinitions"] is None

    def test_metadata_only(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a", labels={"l": "m"})
        form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
        one = kube.call("GET", kind.path(ns, "a"), accept=form.format("")).body
        assert (one["kind"], one["metadata"]["labels"]) == ("PartialObjectMetadata", {"l": "m"})
        assert "spec" not in one
        many = kube.call("GET", kind.path(ns), accept=form.format("List")).body
        assert many["kind"] == "PartialObjectMetadataList"
        assert "spec" not in many["items"][0]


class TestDefinitions:
    def test_established(self, kube: Cluster, kind: Kind) -> None:
        crd = kube.call("GET", kind.crd_path).body
        found = conditions(kube, kind)
        assert found["Established"] == found["NamesAccepted"] == "True"
        assert crd["spec"]["names"]["singular"] == kind.kind.lower()
        assert crd["status"]["acceptedNames"]["listKind"] == f"{kind.kind}List"

    def test_discovery(self, kube: Cluster, kind: Kind) -> None:
        for path in ("/healthz", "/livez", "/readyz"):
            assert kube.call("GET", path).body == "ok"
        assert kube.call("GET", "/api").body["versions"] == ["v1"]
        groups = {group["name"]: group for group in kube.call("GET", "/apis").body["groups"]}
        assert groups[GROUP]["preferredVersion"]["groupVersion"] == f"{GROUP}/v1"
        listed = kube.call("GET", f"/apis/{GROUP}/v1").body["resources"]
        found = {resource["name"]: resource for resource in listed}
        main = found[kind.plural]
        assert (main["kind"], main["namespaced"]) == (kind.kind, True)
        assert main["singularName"] == kind.kind.lower()
        assert main["shortNames"] == [f"g{kind.plural[7:]}"]
        assert {"create", "delete", "get", "list", "patch", "update", "watch"} <= set(main["verbs"])
        assert found[f"{kind.plural}/status"]["verbs"] == ["get", "patch", "update"]
        core = {r["name"] for r in kube.call("GET", "/api/v1").body["resources"]}
        assert {"namespaces", "events", "configmaps", "secrets"} <= core
        assert kube.call("GET", f"/apis/{GROUP}/v9").code == MISSING
        assert kube.call("GET", "/api/v1/namespaces/default/nothings").code == MISSING

    def test_new_schema_takes_effect(self, kube: Cluster, ns: str) -> None:
        kind = Kind.fresh()
        define(kube, kind, kind.definition())
        where = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/maximum"
        assert kube.patch(kind.crd_path, [{"op": "replace", "path": where, "value": 50}]).code == OK
        spec = {"image": "nginx", "size": 40}

        def accepted() -> bool:
            return kube.call("POST", kind.path(ns), kind.make("a", spec)).code == CREATED

        assert eventually(accepted)
        assert kube.call("GET", kind.crd_path).meta["generation"] == 2
        kube.call("DELETE", kind.crd_path)

    def test_default_of_the_status(self, kube: Cluster, ns: str) -> None:
        kind = Kind.fresh()
        crd = kind.definition()
        status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
        status["properties"]["observedGeneration"] = {"type": "integer", "format": "int64"}
        status["default"] = {"observedGeneration": -1}
        define(kube, kind, crd)
        unseen = {"observedGeneration": -1}
        body = {**kind.make("a"), "status": {"observedGeneration": 7}}
        assert kube.call("POST", kind.path(ns), body).body["status"] == unseen
        assert kube.call("GET", kind.path(ns, "a")).body["status"] == unseen
        written = {"status": {"observedGeneration": 1}}
        kube.patch(kind.path(ns, "a", "status"), written)
        assert kube.call("GET", kind.path(ns, "a")).body["status"] == written["status"]
        kube.call("DELETE", kind.crd_path)

    def test_deletion_takes_the_objects_along(self, kube: Cluster, ns: str) -> None:
        kind = Kind.fresh()
        define(kube, kind, kind.definition())
        create(kube, kind, ns, "held", finalizers=["a.example/b"])
        create(kube, kind, ns, "free")
        going = kube.call("DELETE", kind.crd_path)
        assert going.meta["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]

        def only_the_held_is_left() -> bool:
            return kube.call("GET", kind.path(ns)).names == ["held"]

        eventually(only_the_held_is_left)
        assert kube.call("GET", kind.path(ns, "held")).meta["deletionTimestamp"]
        release(kube, kind, ns, "held")
        eventually(lambda: kube.call("GET", kind.crd_path).code == MISSING)
        eventually(lambda: kube.call("GET", kind.path(ns)).code == MISSING)

    def test_wrong_definitions_are_refused(self, kube: Cluster) -> None:
        kind = Kind.fresh()
        misnamed = {**kind.definition(), "metadata": {"name": f"others.{GROUP}"}}
        refused = kube.call("POST", CRDS, misnamed)
        assert refused.code == INVALID
        assert 'must be spec.names.plural+"."+spec.group' in refused.message
        unstored = kind.definition()
        unstored["spec"]["versions"][0]["storage"] = False
        refused = kube.call("POST", CRDS, unstored)
        assert refused.code == INVALID
        assert "must have exactly one version marked as storage version" in refused.message


class TestBuiltIn:
    def test_namespace_takes_its_content_along(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "held", finalizers=["a.example/b"])
        create(kube, kind, ns, "free")
        path = f"{NAMESPACES}/{ns}"
        assert kube.call("GET", path).body["status"]["phase"] == "Active"
        assert kube.call("DELETE", path).meta["deletionTimestamp"]

        def only_the_held_is_left() -> bool:
            return kube.call("GET", kind.path(ns)).names == ["held"]

        eventually(only_the_held_is_left)
        assert kube.call("GET", path).body["status"]["phase"] == "Terminating"
        refused = kube.call("POST", kind.path(ns), kind.make("new"))
        assert refused.code == FORBIDDEN
        assert f"namespace {ns} because it is being terminated" in refused.message
        assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
        release(kube, kind, ns, "held")
        eventually(lambda: kube.call("GET", path).code == MISSING)

    def test_events(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a")
        reference = {
            "apiVersion": f"{GROUP}/v1",
            "kind": kind.kind,
            "name": "a",
            "namespace": ns,
            "uid": made["metadata"]["uid"],
        }
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": reference,
            "type": "Warning",
            "reason": "Tested",
            "message": "seen",
            "count": 1,
            "source": {"component": "test"},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        path = f"{NAMESPACES}/{ns}/events"
        for metadata in ({"name": "named"}, {"generateName": "made-"}):
            posted = kube.call("POST", path, {**event, "metadata": metadata})
            assert posted.code == CREATED
            assert posted.body["reason"] == "Tested"
        again = kube.patch(f"{path}/named", {"count": 2})
        assert again.body["count"] == 2
        mine = f"involvedObject.uid={reference['uid']},involvedObject.kind={kind.kind}"
        assert len(kube.call("GET", path, fieldSelector=mine).names) == 2
        assert kube.call("GET", path, fieldSelector="involvedObject.name=b").names == []

    def test_lease_is_a_fence(self, kube: Cluster, ns: str) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
        spec = {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "renewTime": "2026-01-01T00:00:00.000000Z",
        }
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "lead"},
            "spec": spec,
        }
        first = kube.call("POST", path, body).body
        assert kube.call("POST", path, body).code == CONFLICT
        taken = {**first, "spec": {**spec, "holderIdentity": "two"}}
        assert kube.call("PUT", f"{path}/lead", taken).code == OK
        assert kube.call("PUT", f"{path}/lead", taken).code == CONFLICT
        held = kube.call("GET", f"{path}/lead").body
        assert held["spec"] == {**spec, "holderIdentity": "two"}

    def test_config_maps_and_secrets(self, kube: Cluster, ns: str) -> None:
        maps, secrets = f"{NAMESPACES}/{ns}/configmaps", f"{NAMESPACES}/{ns}/secrets"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        assert kube.call("POST", maps, {**body, "data": {"a": "b", "c": "d"}}).code == CREATED
        patch = {"data": {"a": None, "e": "f"}}
        done = kube.call("PATCH", f"{maps}/a", patch, media=STRATEGIC)
        assert done.body["data"] == {"c": "d", "e": "f"}
        replaced = kube.call("PUT", f"{maps}/a", {**body, "data": {"x": "y"}})
        assert (replaced.code, replaced.body["data"]) == (OK, {"x": "y"})
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
        made = kube.call("POST", secrets, {**secret, "data": {"p": "cQ=="}})
        assert made.body["data"] == {"p": "cQ=="}


class TestKopf:
    def test_operator_sees_create_update_delete(
        self, kube: Cluster, kind: Kind, ns: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
        told: asyncio.Queue[tuple[str | None, int | None]] = asyncio.Queue()
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
            return kopf.login_with_kubeconfig(**kwargs)

        @kopf.on.event(GROUP, "v1", kind.plural, registry=registry)
        async def on_event(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
            await told.put((type, body["spec"].get("size")))

        async def scenario() -> list[tuple[str | None, int | None]]:
            await kube.call_async("POST", kind.path(ns), kind.make("a"))
            stop = asyncio.Event()
            operator = asyncio.create_task(
                kopf.operator(registry=registry, namespaces=[ns], standalone=True, stop_flag=stop)
            )
            got = [await told.get()]
            path = kind.path(ns, "a")
            size = [{"op": "replace", "path": "/spec/size", "value": 5}]
            await kube.call_async("PATCH", path, size, media=JSON_PATCH)
            got.append(await told.get())
            await kube.call_async("DELETE", path)
            got.append(await told.get())
            stop.set()
            await operator
            return got

        events = kube.run(asyncio.wait_for(scenario(), PATIENCE))
        assert events == [(None, 3), ("MODIFIED", 5), ("DELETED", 5)]


class TestKubectl:
    def manifest(self, kind: Kind, ns: str, spec: Obj, name: str = "a") -> str:
        return json.dumps(kind.make(name, spec, namespace=ns))

    def test_apply(self, kube: Cluster, ns: str) -> None:
        kind = Kind.fresh()
        crd = json.dumps(kind.definition())
        assert "created" in kube.kubectl("apply", "-f", "-", stdin=crd).stdout
        waited = kube.kubectl("wait", "--for=condition=Established", f"crd/{kind.crd_name}")
        assert "condition met" in waited.stdout
        assert "unchanged" in kube.kubectl("apply", "-f", "-", stdin=crd).stdout
        served(kube, kind)
        for spec, word in (
            ({"image": "nginx", "tags": {"a": "b"}}, "created"),
            ({"image": "nginx", "tags": {"a": "b"}}, "unchanged"),
            ({"image": "redis"}, "configured"),
        ):
            manifest = self.manifest(kind, ns, spec)
            assert word in kube.kubectl("apply", "-f", "-", stdin=manifest).stdout
        assert kube.call("GET", kind.path(ns, "a")).body["spec"] == {
            "image": "redis",
            "size": 3,
            "mode": "Always",
        }
        kube.kubectl("delete", "crd", kind.crd_name)
        assert kube.call("GET", kind.crd_path).code == MISSING

    def test_apply_of_what_is_wrong(self, kube: Cluster, kind: Kind, ns: str) -> None:
        manifest = self.manifest(kind, ns, {"image": "nginx", "size": 99})
        told = kube.kubectl("apply", "-f", "-", stdin=manifest, ok=False).stderr
        assert f'The {kind.kind} "a" is invalid' in told
        assert "spec.size in body should be less than or equal to 10" in told

    def test_apply_of_a_typo(self, kube: Cluster, kind: Kind, ns: str) -> None:
        manifest = self.manifest(kind, ns, {"image": "nginx", "sice": 3})

        def told(expected: str) -> bool:
            return expected in kube.kubectl("apply", "-f", "-", stdin=manifest, ok=None).stderr

        if kube.version >= (1, 25) and kube.kubectl_version >= (1, 25):
            assert told('strict decoding error: unknown field "spec.sice"')
            assert kube.call("GET", kind.path(ns, "a")).code == MISSING
        elif kube.stand_in:
            assert told('Warning: unknown field "spec.sice"')
        else:
            # Without the server's check kubectl makes its own, from a document that servers
            # publish some seconds after the definition.
            assert eventually(lambda: told('unknown field "sice"'))

    def test_get(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a", labels={"l": "m"})
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        kube.patch(kind.path(ns, "a", "status"), {"status": status})
        create(kube, kind, ns, "b")

        def get(*arguments: str) -> str:
            return kube.kubectl("get", kind.crd_name, "-n", ns, *arguments).stdout

        rows = [re.split(r"  +", line.strip()) for line in get().splitlines()]
        assert rows[0] == ["NAME", "READY", "SIZE", "AGE"]
        assert rows[1][:3] == ["a", "True", "3"]
        assert rows[2][:2] == ["b", "3"]
        wide = [re.split(r"  +", line.strip()) for line in get("-o", "wide").splitlines()]
        assert wide[0] == ["NAME", "READY", "SIZE", "PHASE", "AGE"]
        assert wide[1][:4] == ["a", "True", "3", "Running"]
        assert get("-l", "l=m", "-o", "name") == f"{kind.kind.lower()}.{GROUP}/a\n"
        assert get("-o", "jsonpath={.items[*].spec.image}") == "nginx nginx"
        assert json.loads(get("a", "-o", "json"))["status"] == status
        assert "image: nginx" in get("a", "-o", "yaml")
        short = kube.kubectl("get", f"g{kind.plural[7:]}/a", "-n", ns, "-o", "name").stdout
        assert short.strip().endswith("/a")
        category = kube.kubectl("get", f"all{kind.plural[7:]}", "-n", ns, "-o", "name").stdout
        assert len(category.splitlines()) == 2
        missing = kube.kubectl("get", kind.crd_name, "c", "-n", ns, ok=False)
        assert f'{kind.crd_name} "c" not found' in missing.stderr

    def test_get_follows_changes(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        command = kube.kubectl_command("get", kind.crd_name, "-n", ns, "-w", "--no-headers")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline().split()[:2] == ["a", "3"]
            kube.patch(kind.path(ns, "a"), {"spec": {"size": 8}})
            assert follower.stdout.readline().split()[:2] == ["a", "8"]
            follower.terminate()

    def test_describe_shows_events(self, kube: Cluster, kind: Kind, ns: str) -> None:
        made = create(kube, kind, ns, "a")
        reference = {
            "apiVersion": f"{GROUP}/v1",
            "kind": kind.kind,
            "name": "a",
            "namespace": ns,
            "uid": made["metadata"]["uid"],
        }
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "a-"},
            "involvedObject": reference,
            "type": "Normal",
            "reason": "Launched",
            "message": "one task",
            "count": 1,
            "source": {"component": "test"},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        assert kube.call("POST", f"{NAMESPACES}/{ns}/events", event).code == CREATED
        told = kube.kubectl("describe", kind.crd_name, "a", "-n", ns).stdout
        assert re.search(r"Image:\s+nginx", told)
        assert re.search(r"Normal\s+Launched\s+\S+\s+test\s+one task", told)
        listed = kube.kubectl("get", "events", "-n", ns).stdout
        assert re.search(rf"Normal\s+Launched\s+{kind.kind.lower()}/a\s+one task", listed)

    def test_patch_label_annotate(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        one = (kind.crd_name, "a", "-n", ns)
        body = '{"spec":{"size":5}}'
        assert "patched" in kube.kubectl("patch", *one, "--type=merge", "-p", body).stdout
        assert "no change" in kube.kubectl("patch", *one, "--type=merge", "-p", body).stdout
        test = '[{"op":"test","path":"/spec/size","value":9}]'
        refused = kube.kubectl("patch", *one, "--type=json", "-p", test, ok=False)
        assert "The request is invalid" in refused.stderr
        strategic = kube.kubectl("patch", *one, "-p", body, ok=False)
        assert "the body of the request was in an unknown format" in strategic.stderr
        kube.kubectl("label", *one, "l=m")
        kube.kubectl("annotate", *one, "a.example/n=o")
        meta = kube.call("GET", kind.path(ns, "a")).meta
        assert (meta["labels"], meta["annotations"]) == ({"l": "m"}, {"a.example/n": "o"})

    def test_patch_of_status(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        body = json.dumps({"status": {"phase": "Running"}, "spec": {"size": 9}})
        command = ("patch", kind.crd_name, "a", "-n", ns, "--subresource=status", "--type=merge")
        knows = kube.kubectl_version >= (1, 24)
        done = kube.kubectl(*command, "-p", body, ok=knows)
        if not knows:
            assert "unknown flag: --subresource" in done.stderr
            return
        patched = kube.call("GET", kind.path(ns, "a")).body
        assert (patched["status"], patched["spec"]["size"]) == ({"phase": "Running"}, 3)

    def test_edit(self, kube: Cluster, kind: Kind, ns: str, tmp_path: Path) -> None:
        create(kube, kind, ns, "a")
        editor = tmp_path / "editor"
        editor.write_text('#!/bin/sh\nsed -i "s/image: nginx/image: redis/" "$1"\n')
        editor.chmod(0o755)
        done = kube.kubectl("edit", kind.crd_name, "a", "-n", ns, KUBE_EDITOR=str(editor))
        assert "edited" in done.stdout
        edited = kube.call("GET", kind.path(ns, "a")).body
        assert (edited["spec"]["image"], edited["metadata"]["generation"]) == ("redis", 2)

    def test_wait_for_a_condition(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a")
        one = f"{kind.crd_name}/a"
        command = kube.kubectl_command("wait", "--for=condition=Ready", one, "-n", ns)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            for status in ("False", "True"):
                conditions = [{"type": "Ready", "status": status}]
                body = {"status": {"conditions": conditions}}
                assert kube.patch(kind.path(ns, "a", "status"), body).code == OK
            told, _ = waiting.communicate(timeout=PATIENCE)
        assert (waiting.returncode, "condition met" in told) == (0, True)

    def test_delete_waits_for_finalizers(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a", finalizers=["a.example/b"])
        one = (kind.crd_name, "a", "-n", ns)
        assert "deleted" in kube.kubectl("delete", *one, "--wait=false").stdout
        assert kube.call("GET", kind.path(ns, "a")).meta["deletionTimestamp"]
        command = kube.kubectl_command("delete", *one)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            assert "deleted" in waiting.stdout.readline()
            release(kube, kind, ns, "a")
            assert waiting.wait(timeout=PATIENCE) == 0
        assert kube.call("GET", kind.path(ns, "a")).code == MISSING

    def test_wait_for_deletion(self, kube: Cluster, kind: Kind, ns: str) -> None:
        create(kube, kind, ns, "a", finalizers=["a.example/b"])
        kube.call("DELETE", kind.path(ns, "a"))
        one = ("--for=delete", f"{kind.crd_name}/a", "-n", ns)
        held = kube.kubectl("wait", *one, "--timeout=1s", ok=False)
        # The latter where kubectl had no list within that second.
        assert re.search("timed out waiting for the condition|deadline exceeded", held.stderr)
        with subprocess.Popen(
            kube.kubectl_command("wait", *one), stderr=subprocess.PIPE, text=True
        ) as waiting:
            release(kube, kind, ns, "a")
            _, told = waiting.communicate(timeout=PATIENCE)
        # kubectl 1.20 calls it an error when it comes too late to see the object at all.
        assert waiting.returncode == 0 or "no matching resources found" in told

    def test_config_maps(self, kube: Cluster, ns: str) -> None:
        body: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        for data, word in (
            ({"a": "b", "c": "d"}, "created"),
            ({"a": "b", "c": "d"}, "unchanged"),
            ({"a": "x"}, "configured"),
        ):
            manifest = json.dumps({**body, "data": data})
            assert word in kube.kubectl("apply", "-n", ns, "-f", "-", stdin=manifest).stdout
        path = f"{NAMESPACES}/{ns}/configmaps/a"
        assert kube.call("GET", path).body["data"] == {"a": "x"}
