"""The verbs: create, update, patch and delete with a real server's rules.

Synchronous throughout: nothing else runs between reading an object and writing it, which is what
makes the checks of resourceVersion and uid hold.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fractal_dev.kube import crds, errors, metadata, patches, schema
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.resources import CRDS, NAMESPACES, SECRETS, Catalog, Resource
from fractal_dev.kube.store import Store


@dataclass(frozen=True, slots=True)
class Options:
    """How a write is asked for; `validation` is fieldValidation: Strict, Warn or Ignore."""

    validation: str = "Warn"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What a write answers; `warnings` go into Warning headers."""

    object: Obj
    warnings: tuple[str, ...] = ()


class Registry:
    """Reads and writes objects. `on_terminating` is called when a namespace or a definition
    begins to go, and when anything is removed, so that cascades go on."""

    def __init__(self, on_terminating: Callable[[], None]) -> None:
        self.store = Store()
        self.catalog = Catalog()
        self._on_terminating = on_terminating
        for name in ("default", "kube-system", "kube-public"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}}, Options())

    def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """Raises ApiError 404."""
        found = self.store.get(resource.storage, namespace, name)
        if found is None:
            raise errors.not_found(resource.group, resource.plural, name)
        return as_version(resource, found)

    def create(self, resource: Resource, namespace: str, body: Any, options: Options) -> Written:
        """Raises ApiError: 400, 403 (namespace going), 404 (no namespace), 409 (exists), 422."""
        try:
            new, warnings = self._decode(resource, body, options)
        except errors.DecodeError as error:
            raise _cannot_handle(resource, error) from error
        if "resourceVersion" in new["metadata"]:
            message = "resourceVersion should not be set on objects to be created"
            raise errors.ApiError(500, "", message)
        new["metadata"] = metadata.stamp_new(new["metadata"], resource)
        name = _place(resource, new, namespace, new["metadata"]["name"])
        self._check_home(resource, namespace, name)
        if resource.has_status:
            new.pop("status", None)
        new = _completed(resource, new, None)
        self._check(resource, new, None)
        if existing := self.store.get(resource.storage, namespace, name):
            deleting = "deletionTimestamp" in existing["metadata"]
            raise errors.already_exists(resource.group, resource.plural, name, deleting=deleting)
        if not options.dry_run:
            new = self.store.put(resource.storage, new)
            self._define(resource)
        return Written(new, warnings)

    def replace(
        self,
        resource: Resource,
        subresource: str,
        namespace: str,
        name: str,
        body: Any,
        options: Options,
    ) -> Written:
        """PUT. Raises ApiError: 400, 404, 409 (another uid or resourceVersion), 422."""
        old = self.get(resource, namespace, name)
        try:
            new, warnings = self._decode(resource, body, options)
        except errors.DecodeError as error:
            raise _cannot_handle(resource, error) from error
        given = new["metadata"]
        if "name" not in given:
            message = (
                f"the name of the object ({name} based on URL) was undeterminable: name must be "
                "provided"
            )
            raise errors.bad_request(message)
        _place(resource, new, namespace, name)
        if "uid" in given and given["uid"] != old["metadata"]["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {given['uid']}, "
                f"UID in object meta: {old['metadata']['uid']}"
            )
            raise errors.conflict(resource.group, resource.plural, name, why)
        if "resourceVersion" not in given and resource.needs_version:
            why = "Invalid value: 0: must be specified for an update"
            cause = errors.Cause("FieldValueInvalid", "metadata.resourceVersion", why)
            raise errors.invalid(resource.group, resource.plural, name, [cause])
        return self._update(resource, subresource, old, new, options, warnings)

    def patch(
        self,
        resource: Resource,
        subresource: str,
        namespace: str,
        name: str,
        media_type: str,
        body: Any,
        options: Options,
    ) -> Written:
        """PATCH. Raises ApiError: 400, 404, 409 (another resourceVersion), 422.

        A uid that differs is 422 at the main endpoint; at /status a real server, and so this one,
        ignores it with the rest of the metadata: only resourceVersion is a fence there.
        """
        old = self.get(resource, namespace, name)
        patched = patches.apply(media_type, old, body)
        try:
            new, warnings = self._decode(resource, patched, options)
        except errors.DecodeError as error:
            raise errors.invalid_patch(patched, str(error)) from error
        _place(resource, new, namespace, name)
        return self._update(resource, subresource, old, new, options, warnings)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        preconditions: Obj,
        options: Options,
    ) -> tuple[Obj, bool]:
        """Returns the object's last state and whether it is gone, or waits for its finalizers.

        Raises ApiError: 404, 409 when `preconditions` (uid, resourceVersion) do not hold.
        """
        old = self.get(resource, namespace, name)
        _check_preconditions(resource, old, preconditions)
        going = _marked(resource, old)
        gone = not _held(going)
        if options.dry_run:
            return going, gone
        if gone:
            self.remove(resource, going)
        elif going is not old:
            going = self.store.put(resource.storage, going)
            self._define(resource)
            self._on_terminating()
        return going, gone

    def remove(self, resource: Resource, last: Obj) -> None:
        """Takes the object away, whatever holds it; a definition takes its kind along."""
        self.store.remove(resource.storage, last)
        if resource is CRDS:
            self._define(resource)
            self.store.drop((last["spec"]["group"], last["spec"]["names"]["plural"]))
        self._on_terminating()

    def _update(
        self,
        resource: Resource,
        subresource: str,
        old: Obj,
        new: Obj,
        options: Options,
        warnings: tuple[str, ...],
    ) -> Written:
        name = old["metadata"]["name"]
        version = new["metadata"].get("resourceVersion", old["metadata"]["resourceVersion"])
        if version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource.group, resource.plural, name)
        if subresource == "status":
            new = _with_status(old, new)
        elif resource.has_status:
            new = _with_status(new, old)
        new["metadata"] = metadata.carry_over(new["metadata"], old["metadata"])
        new = _completed(resource, new, old)
        self._check(resource, new, old)
        if new == old:
            return Written(old, warnings)
        if resource.has_generation and _wanted(resource, new) != _wanted(resource, old):
            new["metadata"]["generation"] += 1
        if options.dry_run:
            return Written(new, warnings)
        if "deletionTimestamp" in new["metadata"] and not _held(new):
            self.remove(resource, new)
            return Written(new, warnings)
        new = self.store.put(resource.storage, new)
        self._define(resource)
        return Written(new, warnings)

    def _define(self, resource: Resource) -> None:
        if resource is CRDS:
            definitions = self.store.list(CRDS.storage, None)
            self.catalog.replace_custom(r for crd in definitions for r in crds.resources(crd))

    def _check_home(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.may_create:
            why = "create not allowed while custom resource definition is terminating"
            raise errors.forbidden(resource.group, resource.plural, name, why)
        if not resource.namespaced:
            return
        home = self.get(NAMESPACES, "", namespace)
        if "deletionTimestamp" in home["metadata"]:
            why = f"namespace {namespace} is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": why}
            raise errors.forbidden(
                resource.group,
                resource.plural,
                name,
                f"unable to create new content in namespace {namespace} because it is being "
                "terminated",
                [{**cause, "field": "metadata.namespace"}],
            )

    def _decode(
        self, resource: Resource, body: Any, options: Options
    ) -> tuple[Obj, tuple[str, ...]]:
        """Returns a new object with unknown fields dropped and defaults filled in, and warnings."""
        if isinstance(body, dict) and not resource.custom:
            body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        _check_kind(resource, body)
        meta, unknown = metadata.decode(body.get("metadata"))
        obj: Obj = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": meta,
            **{
                key: _copy(value)
                for key, value in body.items()
                if key not in ("apiVersion", "kind", "metadata")
            },
        }
        if resource.schema is not None:
            unknown += schema.prune(obj, resource.schema)
            schema.default(obj, resource.schema)
        said = tuple(f'unknown field "{path}"' for path in unknown)
        if said and options.validation == "Strict":
            raise errors.DecodeError("strict decoding error: " + ", ".join(said))
        return obj, said if options.validation == "Warn" else ()

    def _check(self, resource: Resource, new: Obj, old: Obj | None) -> None:
        causes = list(metadata.check(new["metadata"], resource))
        if old is not None:
            causes += metadata.check_update(new["metadata"], old["metadata"])
        if resource.schema is not None:
            causes += schema.validate(new, resource.schema)
        elif resource is CRDS:
            causes += crds.check(new)
        if causes:
            name = new["metadata"]["name"]
            raise errors.invalid(resource.group, resource.kind, name, causes)


def as_version(resource: Resource, obj: Obj) -> Obj:
    """Returns `obj` in the version asked for; definitions convert by their apiVersion only."""
    if obj["apiVersion"] == resource.api_version:
        return obj
    return {**obj, "apiVersion": resource.api_version}


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _cannot_handle(resource: Resource, error: errors.DecodeError) -> errors.ApiError:
    return errors.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a '
        f"{resource.kind}: {error}"
    )


def _check_kind(resource: Resource, body: Any) -> None:
    unrecognized = f"the object provided is unrecognized (must be of type {resource.kind}): "
    if not isinstance(body, dict):
        raise errors.bad_request(unrecognized + "the body must be a JSON object")
    kind, version = body.get("kind"), body.get("apiVersion")
    if not kind:
        raise errors.bad_request(unrecognized + "Object 'Kind' is missing")
    if version != resource.api_version:
        message = (
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
        raise errors.bad_request(message)
    if kind != resource.kind:
        name = (body.get("metadata") or {}).get("name", "")
        message = f'Invalid value: "{kind}": must be {resource.kind}'
        cause = errors.Cause("FieldValueInvalid", "kind", message)
        raise errors.invalid(resource.group, kind, name, [cause])


def _place(resource: Resource, obj: Obj, namespace: str, name: str) -> str:
    """Makes the object's name and namespace those of the request; returns the name."""
    meta = obj["metadata"]
    if resource.namespaced and meta.get("namespace", namespace) != namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if meta.get("name", name) != name:
        message = (
            f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        )
        raise errors.bad_request(message)
    meta["name"] = name
    if resource.namespaced:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    return name


def _completed(resource: Resource, new: Obj, old: Obj | None) -> Obj:
    """What built-in kinds get from the server besides metadata."""
    if resource is CRDS:
        return crds.complete(new, metadata.now())
    if resource is NAMESPACES and old is None:
        labels = {"kubernetes.io/metadata.name": new["metadata"]["name"]}
        new["metadata"]["labels"] = {**new["metadata"].get("labels", {}), **labels}
        return {**new, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    if resource is NAMESPACES and old is not None:
        return {**new, "spec": old["spec"]}
    if resource is SECRETS:
        plain = new.pop("stringData", {})
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        data = {**new.get("data", {}), **encoded}
        return {"type": "Opaque", **new, **({"data": data} if data else {})}
    return new


def _with_status(base: Obj, other: Obj) -> Obj:
    """`base` with the status of `other`."""
    kept = {key: value for key, value in base.items() if key != "status"}
    kept["metadata"] = dict(base["metadata"])
    return {**kept, "status": other["status"]} if "status" in other else kept


def _wanted(resource: Resource, obj: Obj) -> Obj:
    """What a change of raises the generation."""
    ignored = ("metadata", "status") if resource.has_status else ("metadata",)
    return {key: value for key, value in obj.items() if key not in ignored}


def _check_preconditions(resource: Resource, old: Obj, preconditions: Obj) -> None:
    for field, label, hint in (
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ):
        wanted, have = preconditions.get(field), old["metadata"][field]
        if wanted is not None and wanted != have:
            why = (
                f"the {label} in the precondition ({wanted}) does not match the {label} in record "
                f"({have}). {hint}"
            )
            name = old["metadata"]["name"]
            raise errors.conflict(resource.group, resource.kind, name, why)


def _marked(resource: Resource, obj: Obj) -> Obj:
    """`obj` with the marks of deletion, or itself when it is held by nothing or marked already."""
    if resource is CRDS and crds.CLEANUP not in obj["metadata"].get("finalizers", ()):
        finalizers = [*obj["metadata"].get("finalizers", ()), crds.CLEANUP]
        obj = {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
    if not _held(obj) or "deletionTimestamp" in obj["metadata"]:
        return obj
    meta = {
        **obj["metadata"],
        "deletionTimestamp": metadata.now(),
        "deletionGracePeriodSeconds": 0,
    }
    if "generation" in meta:
        meta["generation"] += 1
    obj = {**obj, "metadata": meta}
    if resource is CRDS:
        return crds.terminating(obj, metadata.now())
    if resource is NAMESPACES:
        return {**obj, "status": {**obj["status"], "phase": "Terminating"}}
    return obj


def _held(obj: Obj) -> bool:
    in_spec = obj["kind"] == "Namespace" and obj.get("spec", {}).get("finalizers")
    return bool(obj["metadata"].get("finalizers") or in_spec)
