"""The operator's reads and writes of the Kubernetes API, over kubernetes.aio.

Every write of an object is a merge patch that carries the uid and resourceVersion of the body it
was decided on. The server refuses it with 409 when the resourceVersion has moved on, which is the
fence against a second operator; and against a namesake, because versions are never used twice. The
uid is a second lock on that door: the main resource checks it, while the status subresource of real
servers (seen with 1.20 and 1.36) takes nothing of ``metadata`` but the resourceVersion.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.models import CoreV1Event, V1DeleteOptions, V1Preconditions

from fractal_helpers.kube_errors import TransportError, from_answer, from_transport
from fractal_helpers.merge_patch import merge_diff
from fractal_models.errors import Conflict, FractalError, Gone, Rejected, Unavailable
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION, KubeEvent, ObjectKey

log = logging.getLogger(__name__)

Observe = Callable[[str, str, str], None]
"""Called once a request with verb, resource and HTTP code ("error": no answer), for metrics."""

Renew = Callable[[Configuration], Awaitable[None]]
"""Puts credentials into a configuration, newly obtained; raises what ``_UNUSABLE`` lists."""

_UNUSABLE = (config.ConfigException, OSError, ValueError, KeyError)
_COMPONENT = "fractal-operator"
_MERGE_PATCH = "application/merge-patch+json"
_JSON = "application/json"
_LEASES = ("coordination.k8s.io", "v1")
_PAGE = 500
_TIMEOUT = 10.0  # seconds; kubernetes.aio's own default is 300
_LIST_STARTS = 3
_EVENT_MESSAGE_LIMIT = 1024  # the API server refuses longer ones
_NAME_LIMIT = 253


class KubeClient:
    """FractalContainers, Events, Leases and the cluster's uid; satisfies the operator's port Kube.

    Every method raises only :mod:`fractal_models.errors`. Use one per event loop; ``close`` it.
    """

    def __init__(
        self,
        api: ApiClient,
        *,
        namespaces: Sequence[str] = (),
        observe: Observe = lambda verb, resource, code: None,
        renew: Renew | None = None,
    ) -> None:
        self._api = api
        self._renew = renew
        self._renewing = asyncio.Lock()
        self._custom = CustomObjectsApi(api)
        self._namespaces = tuple(namespaces)
        self._observe = observe

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        namespaces: Sequence[str] = (),
        observe: Observe = lambda verb, resource, code: None,
    ) -> Self:
        """Return a client; nothing is sent yet.

        Credentials come from ``kubeconfig`` or KUBECONFIG, else from the pod's service account,
        else from ``~/.kube/config``. ``namespaces`` limits ``list``; empty means all. Raises
        ``Rejected`` when there are no usable credentials.
        """
        configuration = Configuration()
        path = str(kubeconfig or os.environ.get("KUBECONFIG") or "")

        async def load(into: Configuration) -> None:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path or None,
                context=context,
                client_configuration=into,
                persist_config=False,
            )

        in_cluster = not path and not context and "KUBERNETES_SERVICE_HOST" in os.environ
        try:
            if in_cluster:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                await load(configuration)
        except _UNUSABLE as error:
            raise Rejected(f"no usable Kubernetes credentials: {error}") from error
        return cls(
            ApiClient(configuration),
            namespaces=namespaces,
            observe=observe,
            # The service account's token is read again every minute by the library itself.
            renew=None if in_cluster else load,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, key: ObjectKey) -> Mapping[str, Any] | None:
        """Return the object, or None when there is none of that name."""
        request = partial(
            self._custom.get_namespaced_custom_object,
            GROUP,
            VERSION,
            key.namespace,
            PLURAL,
            key.name,
            _request_timeout=_TIMEOUT,
        )
        try:
            found: Mapping[str, Any] = await self._call("get", PLURAL, str(key), request)
        except Gone:
            return None
        return found

    async def list(self) -> Sequence[Mapping[str, Any]]:
        """Return every object of the watched namespaces, read in pages of 500."""
        found: list[Mapping[str, Any]] = []
        for namespace in self._namespaces or ("",):
            found += await self._list(namespace)
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
            _request_timeout=_TIMEOUT,
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
            _request_timeout=_TIMEOUT,
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
            _request_timeout=_TIMEOUT,
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
            replace, *_LEASES, meta["namespace"], "leases", meta["name"], body, _content_type=_JSON
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

    async def _core(self, method: str, path: str, body: CoreV1Event | None = None) -> Any:
        """A call of the core API. CoreV1Api would import the models of all kinds: half of what
        the operator needs to start."""
        request = await self._api.param_serialize(
            method,
            path,
            header_params={"Accept": _JSON, "Content-Type": _JSON},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=_TIMEOUT)
        await answer.read()  # type: ignore[no-untyped-call]
        return self._api.response_deserialize(answer, {"2XX": "object"}).data

    async def _list(self, namespace: str) -> Sequence[Mapping[str, Any]]:
        # 410: the continue token expired (5 to 15 minutes, or a compaction); begin again.
        for _ in range(_LIST_STARTS):
            try:
                return await self._pages(namespace)
            except _Expired:
                continue
        raise Unavailable(f"list {PLURAL}: the continue token expired {_LIST_STARTS} times")

    async def _pages(self, namespace: str) -> Sequence[Mapping[str, Any]]:
        fetch = (
            partial(self._custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL)
            if namespace
            else partial(self._custom.list_cluster_custom_object, GROUP, VERSION, PLURAL)
        )
        where = namespace or "in all namespaces"
        found: list[Mapping[str, Any]] = []
        token = None
        while True:
            request = partial(fetch, limit=_PAGE, _continue=token, _request_timeout=_TIMEOUT)
            page = await self._call("list", PLURAL, where, request)
            found += page["items"]
            token = page["metadata"].get("continue") or None
            if token is None:
                return found

    async def _call(
        self, verb: str, resource: str, name: str, request: Callable[[], Awaitable[Any]]
    ) -> Any:
        what, write = f"{verb} {resource} {name}", verb in {"patch", "create", "update"}
        try:
            answer = await self._send(request)
        except ApiException as error:
            self._observe(verb, resource, str(error.status))
            if verb == "list" and error.status == 410:
                raise _Expired from error
            raise from_answer(error, what, write=write) from error
        except TransportError as error:
            self._observe(verb, resource, "error")
            raise from_transport(error, what, write=write) from error
        self._observe(verb, resource, "201" if verb == "create" else "200")
        return answer

    async def _send(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """Send a request, and once more with new credentials if the server knows these no more."""
        used = self._token()
        try:
            return await request()
        except ApiException as error:
            if error.status != 401 or not await self._renewed(used):
                raise
        return await request()

    def _token(self) -> str | None:
        keys: Mapping[str, str] = self._api.configuration.api_key
        return keys.get("BearerToken")

    async def _renewed(self, used: str | None) -> bool:
        """Whether there is another token than ``used`` by now; callers share one renewal."""
        if self._renew is None:
            return False
        async with self._renewing:
            if self._token() == used:
                try:
                    await self._renew(self._api.configuration)
                except _UNUSABLE as error:
                    log.warning("the Kubernetes credentials cannot be renewed: %s", error)
            return self._token() != used


class _Expired(Exception):
    """A list's continue token is too old."""


def event_of(body: Mapping[str, Any], event: KubeEvent, now: datetime) -> CoreV1Event:
    """Return the core/v1 Event to post: its name is ``<object name, cut>.<name_suffix>``."""
    meta = body["metadata"]
    at = now.replace(microsecond=0)  # metav1.Time holds whole seconds
    room = _NAME_LIMIT - len(event.name_suffix) - 1
    message = event.message
    if len(message) > _EVENT_MESSAGE_LIMIT:
        message = message[: _EVENT_MESSAGE_LIMIT - 1] + "…"
    return CoreV1Event.model_validate(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "namespace": meta["namespace"],
                "name": f"{meta['name'][:room].rstrip('-.')}.{event.name_suffix}",
            },
            "involvedObject": {
                "apiVersion": body.get("apiVersion", API_VERSION),
                "kind": body.get("kind", KIND),
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": message,
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
    )


def _fence(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}


def _name(body: Mapping[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"
