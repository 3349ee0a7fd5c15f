"""As much of kubectl as the demo needs, on the standard library, for machines without one."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from fractal_models.crd import crd
from fractal_models.kube import GROUP, PLURAL, VERSION

Object = dict[str, Any]

_AGENT = "fractal-dev"
_OBJECTS = f"/apis/{GROUP}/{VERSION}/namespaces/default/{PLURAL}"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_MERGE_PATCH = "application/merge-patch+json"
_CRD_SECONDS = 10.0


class Refused(Exception):
    """The API server answered with an error, told in its own words; ``code`` is the HTTP code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Kubectl:
    """FractalContainers of the namespace default at the API server ``url``.

    Every method raises ``Refused`` when the server does, and OSError when it does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # Proxies of the environment are for the world outside, not for the loopback interface.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def install_crd(self) -> None:
        """Create the CustomResourceDefinition and return once its objects are served."""
        self._send("POST", _CRDS, crd())
        deadline = time.monotonic() + _CRD_SECONDS
        while True:
            try:
                self.objects()
            except Refused as error:
                if error.code != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Create an object and return it as it then stands."""
        created: Object = self._send("POST", _OBJECTS, manifest)
        return created

    def patch(self, name: str, change: Mapping[str, Any]) -> Object:
        """Merge ``change`` into an object and return it as it then stands."""
        patched: Object = self._send("PATCH", f"{_OBJECTS}/{name}", change, media=_MERGE_PATCH)
        return patched

    def delete(self, name: str) -> None:
        """Delete an object; it goes when its finalizers are gone."""
        self._send("DELETE", f"{_OBJECTS}/{name}")

    def objects(self) -> dict[str, Object]:
        """Return all objects by name."""
        items = self._send("GET", _OBJECTS)["items"]
        return {each["metadata"]["name"]: each for each in items}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return what ``kubectl get`` would print: the heads, and the cells of every row.

        The API server computes it; columns that only ``-o wide`` shows are left out.
        """
        table = self._send("GET", _OBJECTS, accept=_TABLE)
        columns = table["columnDefinitions"]
        shown = [number for number, each in enumerate(columns) if each["priority"] == 0]
        heads = [columns[number]["name"].upper() for number in shown]
        rows = [["" if c is None else str(c) for c in each["cells"]] for each in table["rows"]]
        return heads, [[row[number] for number in shown] for row in rows]

    def events(self) -> list[Object]:
        """Return the Events about the objects."""
        return list(self._send("GET", "/api/v1/namespaces/default/events")["items"])

    def operator_writes(self) -> list[Object]:
        """Return the requests of others than this client that changed an object, as the stand-in
        recorded them (:class:`fractal_dev.kube.audit.Request`)."""
        seen: Any = self._send("GET", "/_standin/requests")
        return [each for each in seen if each["changed"] and each["user_agent"] != _AGENT]

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        media: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"User-Agent": _AGENT, "Content-Type": media, "Accept": accept}
        url = self.url + path
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=10) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, _message(error.read())) from None


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")
