"""The verbs: create, update, patch and delete with a real server's rules.

Synchronous throughout: nothing else runs between reading an object and writing it, which is what
makes the checks of resourceVersion and uid hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fractal_dev.kube import (
    bodies,
    crds,
    deletion,
    errors,
    metadata,
    patches,
    schema,
    validation,
)
from fractal_dev.kube.errors import Obj
from fractal_dev.kube.resources import CRDS, NAMESPACES, Catalog, Resource
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
        return bodies.as_version(resource, found)

    def create(self, resource: Resource, namespace: str, body: Any, options: Options) -> Written:
        """Raises ApiError: 400, 403 (namespace going), 404 (no namespace), 409 (exists), 422."""
        try:
            new, warnings = bodies.decode(resource, body, options.validation)
        except errors.DecodeError as error:
            raise bodies.cannot_handle(resource, error) from error
        if "resourceVersion" in new["metadata"]:
            message = "resourceVersion should not be set on objects to be created"
            raise errors.ApiError(500, "", message)
        new["metadata"] = metadata.stamp_new(new["metadata"], resource)
        name = bodies.place(resource, new, namespace, new["metadata"]["name"])
        self._check_home(resource, namespace, name)
        if resource.has_status:
            new.pop("status", None)
            if resource.schema is not None:
                schema.default(new, resource.schema)  # as a real server does whenever it reads
        new = bodies.completed(resource, new, None)
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
            new, warnings = bodies.decode(resource, body, options.validation)
        except errors.DecodeError as error:
            raise bodies.cannot_handle(resource, error) from error
        given = new["metadata"]
        if "name" not in given:
            message = (
                f"the name of the object ({name} based on URL) was undeterminable: name must be "
                "provided"
            )
            raise errors.bad_request(message)
        bodies.place(resource, new, namespace, name)
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
            new, warnings = bodies.decode(resource, patched, options.validation)
        except errors.DecodeError as error:
            raise errors.invalid_patch(patched, str(error)) from error
        bodies.place(resource, new, namespace, name)
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
        deletion.check_preconditions(resource, old, preconditions)
        going = deletion.marked(resource, old)
        gone = not deletion.held(going)
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
            new = bodies.with_status(old, new)
        elif resource.has_status:
            new = bodies.with_status(new, old)
        new["metadata"] = metadata.carry_over(new["metadata"], old["metadata"])
        new = bodies.completed(resource, new, old)
        self._check(resource, new, old)
        if new == old:
            return Written(old, warnings)
        if resource.has_generation and bodies.wanted(resource, new) != bodies.wanted(resource, old):
            new["metadata"]["generation"] += 1
        if options.dry_run:
            return Written(new, warnings)
        if "deletionTimestamp" in new["metadata"] and not deletion.held(new):
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

    def _check(self, resource: Resource, new: Obj, old: Obj | None) -> None:
        causes = list(metadata.check(new["metadata"], resource))
        if old is not None:
            causes += metadata.check_update(new["metadata"], old["metadata"])
        if resource.schema is not None:
            causes += validation.validate(new, resource.schema)
        elif resource is CRDS:
            causes += crds.check(new)
        if causes:
            name = new["metadata"]["name"]
            raise errors.invalid(resource.group, resource.kind, name, causes)
