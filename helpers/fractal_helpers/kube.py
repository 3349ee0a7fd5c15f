"""The operator's reads and writes of the Kubernetes API, over kubernetes.aio.

Every write of an object is a merge patch that carries the uid and resourceVersion of the body it
was decided on. The server refuses it with 409 when the resourceVersion has moved on, which is the
fence against a second operator; and against a namesake, because versions are never used twice. The
uid is a second lock on that door: the main resource checks it, while the status subresource of real
servers (seen with 1.20 and 1.36) takes nothing of ``metadata`` but the resourceVersion.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kubernetes.aio.client.models import V1DeleteOptions, V1Preconditions

from fractal_helpers.bodies import Packed
from fractal_helpers.kube_connection import JSON, TIMEOUT, Connection, Expired
from fractal_helpers.kube_errors import from_transport
from fractal_helpers.kube_events import event_of
from fractal_helpers.merge_patch import merge_diff
from fractal_models.errors import AccessDenied, Conflict, FractalError, Gone, Unavailable
from fractal_models.kube import GROUP, PLURAL, VERSION, KubeEvent, ObjectKey

log = logging.getLogger(__name__)

_MERGE_PATCH = "application/merge-patch+json"
_LEASES = ("coordination.k8s.io", "v1")
_PAGE = 500
_LIST_STARTS = 3


class KubeClient(Connection):
    """FractalContainers, Events, Leases and the cluster's uid; satisfies the operator's port Kube.

    Every method raises only :mod:`fractal_models.errors`. Use one per event loop; ``close`` it.
    """

    _unlisted: frozenset[str] = frozenset()  # the namespaces that the last list was refused

    async def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """Return the object, or None when there is none of that name."""
        request = partial(
            self._custom.get_namespaced_custom_object,
            GROUP,
            VERSION,
            key.namespace,
            PLURAL,
            key.name,
            _request_timeout=TIMEOUT,
        )
        try:
            found: Mapping[str, Any] = await self._call("get", PLURAL, str(key), request)
        except Gone:
            return None
        return found

    async def list(self) -> Packed:
        """Return every selected object of the watched namespaces, read in pages of 500.

        A namespace that is refused does not hide the others: Kubernetes takes the operator's rights
        in a namespace that is deleted before its objects are gone. Its objects are not among those
        returned, so only a ``get`` tells whether one that is missing is gone. Raises
        ``AccessDenied`` or ``Gone`` when every namespace is refused.
        """
        found = Packed()
        refused: dict[str, AccessDenied | Gone] = {}
        namespaces = self._namespaces or ("",)
        for namespace in namespaces:
            try:
                found.take(await self._list(namespace))
            except (AccessDenied, Gone) as error:
                refused[namespace] = error
        if len(refused) == len(namespaces):
            raise refused[namespaces[0]]
        self._tell(refused)
        return found

    async def claimed(self, install: str) -> Packed:
        """Return the objects of the watched namespaces whose status names the installation.

        Whatever their labels are; what is not returned is not kept. A namespace that is refused is
        left out.
        """
        found = Packed()
        for namespace in self._namespaces or ("",):
            with suppress(AccessDenied, Gone):
                found.take(await self._list(namespace, claimed_by=install))
        return found

    async def set_finalizers(
        self, body: Mapping[str, Any], finalizers: Sequence[str]
    ) -> Mapping[str, Any]:
        """Replace all finalizers and return the object as it then stands."""
        meta = body["metadata"]
        request = partial(
            self._custom.patch_namespaced_custom_object,
            GROUP,
            VERSION,
            meta["namespace"],
            PLURAL,
            meta["name"],
            {"metadata": {**_fence(meta), "finalizers": list(finalizers)}},
            _content_type=_MERGE_PATCH,
            _request_timeout=TIMEOUT,
        )
        after: Mapping[str, Any] = await self._call("patch", PLURAL, _name(body), request)
        return after

    async def write_status(
        self, body: Mapping[str, Any], status: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Make ``status`` the whole status and return the object as it then stands.

        Only the difference to ``body["status"]`` is sent; nothing at all when there is none, and
        ``body`` is returned. ``status`` holds no nulls.
        """
        before = body.get("status")  # under a CRD without our schema it may be anything
        patch = merge_diff(before if isinstance(before, Mapping) else {}, status)
        if not patch:
            return body
        meta = body["metadata"]
        request = partial(
            self._custom.patch_namespaced_custom_object_status,
            GROUP,
            VERSION,
            meta["namespace"],
            PLURAL,
            meta["name"],
            {"metadata": _fence(meta), "status": patch},
            _content_type=_MERGE_PATCH,
            _request_timeout=TIMEOUT,
        )
        after: Mapping[str, Any] = await self._call(
            "patch", f"{PLURAL}/status", _name(body), request
        )
        return after

    async def delete(self, body: Mapping[str, Any]) -> None:
        """Delete the object as ``body`` shows it; the finalizer decides when it goes.

        Raises ``Conflict`` for a namesake or a later version, ``Gone`` when there is none.
        """
        meta = body["metadata"]
        request = partial(
            self._custom.delete_namespaced_custom_object,
            GROUP,
            VERSION,
            meta["namespace"],
            PLURAL,
            meta["name"],
            body=V1DeleteOptions(
                preconditions=V1Preconditions(
                    uid=meta["uid"], resource_version=meta["resourceVersion"]
                )
            ),
            _request_timeout=TIMEOUT,
        )
        await self._call("delete", PLURAL, f"{meta['namespace']}/{meta['name']}", request)

    async def post_event(self, body: Mapping[str, Any], event: KubeEvent) -> None:
        """Post ``event`` about ``body``; posting the same name_suffix again changes nothing."""
        request = partial(
            self._core,
            "POST",
            f"/api/v1/namespaces/{body['metadata']['namespace']}/events",
            event_of(body, event, datetime.now(UTC)),
        )
        try:
            await self._call("create", "events", _name(body), request)
        except Conflict:
            return  # AlreadyExists: the name says what happened, so it was told before

    async def get_lease(self, key: ObjectKey, within: float) -> Mapping[str, Any] | None:
        """Return the Lease, or None when there is none of that name."""
        fetch = self._custom.get_namespaced_custom_object
        request = partial(fetch, *_LEASES, key.namespace, "leases", key.name)
        try:
            return await self._lease("get", str(key), request, within)
        except Gone:
            return None

    async def create_lease(
        self, key: ObjectKey, spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        """Create a Lease. Raises ``Conflict`` if there is one, ``Gone`` without the namespace."""
        body = {
            "apiVersion": "/".join(_LEASES),
            "kind": "Lease",
            "metadata": {"name": key.name},
            "spec": dict(spec),
        }
        create = self._custom.create_namespaced_custom_object
        request = partial(create, *_LEASES, key.namespace, "leases", body)
        return await self._lease("create", str(key), request, within)

    async def update_lease(
        self, lease: Mapping[str, Any], spec: Mapping[str, Any], within: float
    ) -> Mapping[str, Any]:
        """Replace the spec of ``lease``.

        Raises ``Conflict`` for another version of it, and that or ``Gone`` when it is gone.
        """
        meta = lease["metadata"]
        replace = self._custom.replace_namespaced_custom_object
        body = {**lease, "spec": dict(spec)}
        request = partial(
            replace, *_LEASES, meta["namespace"], "leases", meta["name"], body, _content_type=JSON
        )
        return await self._lease("update", _name(lease), request, within)

    async def _lease(
        self, verb: str, name: str, request: Callable[..., Awaitable[Any]], within: float
    ) -> Mapping[str, Any]:
        """One call that ends within ``within`` seconds, a renewal of the credentials included."""
        call = partial(request, _request_timeout=within)
        try:
            async with asyncio.timeout(within):
                found: Mapping[str, Any] = await self._call(verb, "leases", name, call)
        except TimeoutError as error:
            what = f"{verb} leases {name}"
            raise from_transport(error, what, write=verb != "get") from error
        return found

    async def server_uid(self) -> str | None:
        """Return the uid of the namespace kube-system, which names the Kubernetes cluster for life.

        None when it cannot be read (no permission, no such namespace, no answer).
        """
        request = partial(self._core, "GET", "/api/v1/namespaces/kube-system")
        try:
            namespace = await self._call("get", "namespaces", "kube-system", request)
        except FractalError:
            return None
        return namespace["metadata"].get("uid") or None

    def _tell(self, refused: Mapping[str, FractalError]) -> None:
        """Log which namespaces cannot be listed, once each until they can be again."""
        for namespace, error in refused.items():
            if namespace not in self._unlisted:
                log.error(
                    "the watched namespace %s is left out, its objects stay as they are: %s. "
                    "Give the operator its rights there again (helm upgrade; while the namespace "
                    "is being deleted as docs/install.md says under Uninstalling), or, when it is "
                    "gone, take it out of watch.namespaces",
                    namespace,
                    error,
                )
        for namespace in self._unlisted - refused.keys():
            log.warning("the watched namespace %s can be listed again", namespace)
        self._unlisted = frozenset(refused)

    async def _list(self, namespace: str, claimed_by: str = "") -> Packed:
        # 410: the continue token expired (5 to 15 minutes, or a compaction); begin again.
        for _ in range(_LIST_STARTS):
            try:
                return await self._pages(namespace, claimed_by)
            except Expired:
                continue
        raise Unavailable(f"list {PLURAL}: the continue token expired {_LIST_STARTS} times")

    async def _pages(self, namespace: str, claimed_by: str) -> Packed:
        fetch = (
            partial(self._custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL)
            if namespace
            else partial(self._custom.list_cluster_custom_object, GROUP, VERSION, PLURAL)
        )
        where = namespace or "in all namespaces"
        found = Packed()
        token = None
        chosen = {"label_selector": self._selector} if self._selector and not claimed_by else {}
        while True:
            request = partial(
                fetch, limit=_PAGE, _continue=token, _request_timeout=TIMEOUT, **chosen
            )
            page = await self._call("list", PLURAL, where, request)
            items = (each for each in page["items"] if claimed_by in ("", _claimant(each)))
            found.take(Packed(items))
            token = page["metadata"].get("continue") or None
            if token is None:
                return found


def _fence(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}


def _claimant(body: Mapping[str, Any]) -> str:
    """The installation that looks after an object, as its status says."""
    status = body.get("status")
    return str(status.get("installation", "")) if isinstance(status, Mapping) else ""


def _name(body: Mapping[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"
