"""The kinds that are served: a few built-in ones, and those that CustomResourceDefinitions add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fractal_dev.kube.errors import Obj
from fractal_dev.kube.store import Kind
from fractal_dev.kube.tables import AGE, NAME, Column, since

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = (NAME, AGE)
    fields: frozenset[str] = frozenset()
    """What field selectors may name besides the object's name and namespace."""
    schema: Obj | None = field(default=None, compare=False)
    """The structural schema of a custom resource; built-in kinds are stored as they come."""
    has_status: bool = False
    """Status is written at its own endpoint only."""
    has_generation: bool = False
    needs_version: bool = False
    """A PUT must name the resourceVersion that it replaces."""
    may_create: bool = True
    """False while the definition is being deleted."""

    @property
    def storage(self) -> Kind:
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def custom(self) -> bool:
        return self.schema is not None


def _object_of(event: Obj) -> str:
    involved = event.get("involvedObject", {})
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


NAMESPACES = Resource(
    group="",
    version="v1",
    plural="namespaces",
    kind="Namespace",
    singular="namespace",
    namespaced=False,
    short_names=("ns",),
    columns=(NAME, Column("Status", ".status.phase"), AGE),
    fields=frozenset({"status.phase"}),
    has_status=True,
)
SECRETS = Resource(
    group="",
    version="v1",
    plural="secrets",
    kind="Secret",
    singular="secret",
    columns=(
        NAME,
        Column("Type", ".type"),
        Column("Data", lambda obj: len(obj.get("data", {}))),
        AGE,
    ),
    fields=frozenset({"type"}),
)
CRDS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    singular="customresourcedefinition",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    columns=(
        NAME,
        Column("Created At", lambda obj: obj["metadata"]["creationTimestamp"], "date"),
    ),
    has_status=True,
    has_generation=True,
    needs_version=True,
)
BUILT_IN = (
    NAMESPACES,
    SECRETS,
    CRDS,
    Resource(
        group="",
        version="v1",
        plural="configmaps",
        kind="ConfigMap",
        singular="configmap",
        short_names=("cm",),
        columns=(NAME, Column("Data", lambda obj: len(obj.get("data", {}))), AGE),
    ),
    Resource(
        group="",
        version="v1",
        plural="events",
        kind="Event",
        singular="event",
        short_names=("ev",),
        columns=(
            Column("Last Seen", lambda obj: since(obj.get("lastTimestamp")) or "<unknown>"),
            Column("Type", ".type"),
            Column("Reason", ".reason"),
            Column("Object", _object_of),
            Column("Message", ".message"),
        ),
        fields=frozenset(
            {
                *("type", "reason", "source", "reportingComponent"),
                *("involvedObject.apiVersion", "involvedObject.kind", "involvedObject.uid"),
                *("involvedObject.namespace", "involvedObject.name", "involvedObject.fieldPath"),
            }
        ),
    ),
    Resource(
        group="coordination.k8s.io",
        version="v1",
        plural="leases",
        kind="Lease",
        singular="lease",
        columns=(NAME, Column("Holder", ".spec.holderIdentity"), AGE),
        needs_version=True,
    ),
)


class Catalog:
    """Finds resources by group, version and plural."""

    def __init__(self) -> None:
        self._custom: tuple[Resource, ...] = ()

    def replace_custom(self, resources: Iterable[Resource]) -> None:
        self._custom = tuple(resources)

    def all(self) -> tuple[Resource, ...]:
        return BUILT_IN + self._custom

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        for resource in self.all():
            if (resource.group, resource.version, resource.plural) == (group, version, plural):
                return resource
        return None

    def stored(self) -> list[Resource]:
        """One resource for each kind of stored object, whichever its versions."""
        return list({resource.storage: resource for resource in self.all()}.values())
