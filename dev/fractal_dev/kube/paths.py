"""Which object or collection a URL names."""

from __future__ import annotations

from dataclasses import dataclass

from fractal_dev.kube.resources import Catalog, Resource


@dataclass(frozen=True, slots=True)
class Target:
    """`namespace` None means all of them, or a kind without; `name` "" is the collection."""

    resource: Resource
    namespace: str | None
    name: str
    subresource: str

    @property
    def home(self) -> str:
        """The namespace as objects are stored: "" for a kind without."""
        return self.namespace or ""


def find(path: tuple[str, ...], catalog: Catalog) -> Target | None:
    """Returns what `path` (the URL's parts) names, None when it names nothing that is served."""
    match path:
        case ("api", version, *rest):
            group = ""
        case ("apis", group, version, *rest):
            pass
        case _:
            return None
    # /namespaces/NS/PLURAL… is about PLURAL; /namespaces/NS and /namespaces/NS/status about NS.
    namespace: str | None = None
    if len(rest) >= 3 and rest[0] == "namespaces" and (group or rest[2] != "status"):
        namespace, rest = rest[1], rest[2:]
    if not 1 <= len(rest) <= 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    resource = catalog.find(group, version, plural)
    if resource is None or (namespace is not None and not resource.namespaced):
        return None
    if resource.namespaced and namespace is None and name:
        return None
    if subresource and not (subresource == "status" and resource.has_status):
        return None
    return Target(resource, namespace, name, subresource)
