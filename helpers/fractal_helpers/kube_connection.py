"""A connection to the Kubernetes API: credentials, their renewal, and how calls fail."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration, CustomObjectsApi
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.models import CoreV1Event

from fractal_helpers.kube_errors import TransportError, from_answer, from_transport
from fractal_models.errors import Rejected

log = logging.getLogger(__name__)

Observe = Callable[[str, str, str], None]
"""Called once a request with verb, resource and HTTP code ("error": no answer), for metrics."""

Renew = Callable[[Configuration], Awaitable[None]]
"""Puts credentials into a configuration, newly obtained; raises what ``_UNUSABLE`` lists."""

_UNUSABLE = (config.ConfigException, OSError, ValueError, KeyError)
JSON = "application/json"
TIMEOUT = 10.0  # seconds; kubernetes.aio's own default is 300
_SESSION = {"trust_env": False}
"""The library's default has aiohttp look for ~/.netrc and for a proxy, in two threads a request.
kopf's watch does not look for them either, so they cannot be needed. A kubeconfig's ``proxy-url``
is used."""


class Expired(Exception):
    """A list's continue token is too old."""


class Connection:
    """A connection to the API server, its credentials, and how its calls fail.

    Every method raises only :mod:`fractal_models.errors`. Use one per event loop; ``close`` it.
    """

    def __init__(
        self,
        api: ApiClient,
        *,
        namespaces: Sequence[str] = (),
        selector: str = "",
        observe: Observe = lambda verb, resource, code: None,
        renew: Renew | None = None,
    ) -> None:
        self._api = api
        self._renew = renew
        self._renewing = asyncio.Lock()
        self._custom = CustomObjectsApi(api)
        self._namespaces = tuple(namespaces)
        self._selector = selector
        self._observe = observe

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        namespaces: Sequence[str] = (),
        selector: str = "",
        observe: Observe = lambda verb, resource, code: None,
    ) -> Self:
        """Return a client; nothing is sent yet.

        Credentials come from ``kubeconfig`` or KUBECONFIG, else from the pod's service account,
        else from ``~/.kube/config``. ``namespaces`` and the label ``selector`` limit ``list``;
        empty means all. Raises ``Rejected`` when there are no usable credentials.
        """
        configuration = Configuration(client_session_kwargs=_SESSION)
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
            selector=selector,
            observe=observe,
            # The service account's token is read again every minute by the library itself.
            renew=None if in_cluster else load,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def _call(
        self, verb: str, resource: str, name: str, request: Callable[[], Awaitable[Any]]
    ) -> Any:
        what, write = f"{verb} {resource} {name}", verb in {"patch", "create", "update"}
        try:
            answer = await self._send(request)
        except ApiException as error:
            self._observe(verb, resource, str(error.status))
            if verb == "list" and error.status == 410:
                raise Expired from error
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

    async def _core(self, method: str, path: str, body: CoreV1Event | None = None) -> Any:
        """A call of the core API. CoreV1Api would import the models of all kinds: half of what
        the operator needs to start."""
        request = await self._api.param_serialize(
            method,
            path,
            header_params={"Accept": JSON, "Content-Type": JSON},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.call_api(*request, _request_timeout=TIMEOUT)
        await answer.read()  # type: ignore[no-untyped-call]
        return self._api.response_deserialize(answer, {"2XX": "object"}).data
