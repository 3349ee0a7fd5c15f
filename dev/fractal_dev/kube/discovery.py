"""What clients ask to learn which kinds there are: /api, /apis, /openapi, /version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from fractal_dev.kube.errors import Obj
from fractal_dev.kube.resources import VERBS, Resource

VERSION: Obj = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0-fractal-standin",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}

OPENAPI_V2_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# A protobuf openapi.v2.Document with swagger (field 1) "2.0", info (2) {title (1), version (2)}
# and empty paths (8): enough for clients older than 1.27 to apply without client-side validation.
_INFO = b"\x0a\x08stand-in" + b"\x12\x01v"
OPENAPI_V2 = b"\x0a\x032.0" + b"\x12" + bytes([len(_INFO)]) + _INFO + b"\x42\x00"


def document(path: tuple[str, ...], resources: Iterable[Resource]) -> Obj | None:
    """The answer to a GET of `path`, None where there is nothing."""
    known = list(resources)
    match path:
        case ("version",):
            return VERSION
        case ("api",):
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ("apis",):
            groups = dict.fromkeys(resource.group for resource in known if resource.group)
            listed = [_group(group, known) for group in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        case ("apis", group) if any(resource.group == group for resource in known):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, known)}
        case ("api", version):
            return _resources("", version, known)
        case ("apis", group, version):
            return _resources(group, version, known)
        case ("openapi", "v3"):
            paths = dict.fromkeys(_openapi_path(resource) for resource in known)
            return {"paths": {path: _link(path, known) for path in paths}}
        case ("openapi", "v3", *rest):
            return _openapi("/".join(rest), known)
        case _:
            return None


def _group(group: str, known: list[Resource]) -> Obj:
    versions = dict.fromkeys(resource.version for resource in known if resource.group == group)
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(group: str, version: str, known: list[Resource]) -> Obj | None:
    listed: list[Obj] = []
    for resource in known:
        if (resource.group, resource.version) != (group, version):
            continue
        entry = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
        }
        extra = {
            "shortNames": list(resource.short_names),
            "categories": list(resource.categories),
        }
        named = {key: value for key, value in extra.items() if value}
        listed.append({**entry, "verbs": list(VERBS), **named})
        if resource.has_status:
            status = {"name": f"{resource.plural}/status", "singularName": ""}
            listed.append({**entry, **status, "verbs": ["get", "patch", "update"]})
    if not listed:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": listed,
    }


def _openapi_path(resource: Resource) -> str:
    return f"{'apis' if resource.group else 'api'}/{resource.api_version}"


def _link(path: str, known: list[Resource]) -> Obj:
    # Clients keep the document for as long as its hash stays the same.
    text = json.dumps(_openapi(path, known), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}


def _openapi(path: str, known: list[Resource]) -> Obj | None:
    """Only what makes kubectl leave validation to the server: the fieldValidation parameter."""
    paths: Obj = {}
    for resource in known:
        if _openapi_path(resource) != path:
            continue
        namespaced = "/namespaces/{namespace}" if resource.namespaced else ""
        collection = f"/{path}{namespaced}/{resource.plural}"
        paths[collection] = {"post": _operation(resource, "post")}
        paths[collection + "/{name}"] = {
            "put": _operation(resource, "put"),
            "patch": _operation(resource, "patch"),
        }
    if not paths:
        return None
    info = {"title": "Fractal's stand-in for Kubernetes", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}


def _operation(resource: Resource, action: str) -> Obj:
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    return {
        "operationId": f"{action}{resource.kind}{resource.version}",
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind,
    }
