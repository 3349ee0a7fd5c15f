"""docs/api.md: the API reference, from the models of FractalContainer."""

from collections.abc import Iterable, Iterator, Mapping

from fractal_models.crd import crd
from fractal_operator.core import annotations
from fractal_operator.reference.fields import Section, sections
from fractal_operator.reference.markdown import code, page, table

_INTRO = """
`fractal.co/v1alpha1`, kind `FractalContainer`, namespaced; short names `fc` and `fcs`, category
`fractal`. `kubectl explain fractalcontainer.spec` shows the same fields. What the status's
conditions and Events say stands in [conditions.md](conditions.md), and when a container is started
again in [lifecycle.md](lifecycle.md).

**Change** says what an edit of a spec field does: **R** replaces the task; **N** counts when the
next task is launched, for whatever reason; **I** takes effect in place.

**Rules** go across fields. Kubernetes 1.25 and later refuses an object that breaks one, with its
message; their CEL expressions stand in [the CRD](../crds/fractal.co_fractalcontainers.yaml).
Older servers check patterns and `oneOf` only; there the operator refuses the rest: condition
`Stalled`, reason `InvalidSpec`.
"""

TAGS: Mapping[str, str] = {
    "fractal.co/install": "The installation that launched the task.",
    "fractal.co/namespace": "Namespace of the object.",
    "fractal.co/name": "Name of the object.",
    "fractal.co/uid": "uid of the object: a namesake created later has another.",
    "fractal.co/retained": "`true` once the object was deleted with `deletionPolicy: Retain`: the "
    "task is nobody's any more. `released` while it changes hands with its object, from one "
    "installation to another; `false` once it was taken over, or adopted.",
}
"""The tags that the operator puts on tasks, besides spec.tags."""

_ANNOTATIONS = """
What one asks of the operator for a single object, without an edit of its spec.
"""

_TAGS = """
Besides `spec.tags`, a task carries these in ECS; its `startedBy` is
`fc/<install>/<uid>/<attempt>`.
"""


def api_page() -> str:
    """Return docs/api.md."""
    (version,) = crd()["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]["properties"]
    every = [*sections("spec", root["spec"]), *sections("status", root["status"])]
    columns = (
        (each["name"].upper(), code(each["jsonPath"]), "`-o wide`" if each["priority"] else "")
        for each in version["additionalPrinterColumns"]
    )
    return page(
        "FractalContainer: the API",
        _INTRO,
        *(part for section in every for part in _section(section)),
        f"## Annotations\n{_ANNOTATIONS}",
        table(("Annotation", "Value and effect"), _coded(annotations.MEANING)),
        f"## Tags of the task\n{_TAGS}",
        table(("Tag", "Meaning"), _coded(TAGS)),
        "## Columns of `kubectl get`",
        table(("Column", "From", "Shown"), columns),
    )


def _coded(meanings: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return ((code(name), meaning) for name, meaning in meanings.items())


def _section(section: Section) -> Iterator[str]:
    level = "##" if section.path in ("spec", "status") else "###"
    yield f"{level} {section.path}\n{section.about}"
    spec = section.path.startswith("spec")
    head = ("Field", "Type", "Default", "Allowed", *(("Change",) if spec else ()), "Meaning")
    yield table(
        head,
        (
            (
                code(each.path.removeprefix(f"{section.path}.")),
                each.type,
                each.default,
                each.allowed,
                *((each.change,) if spec else ()),
                each.meaning,
            )
            for each in section.fields
        ),
    )
    if section.rules:
        yield "Rules:\n" + "\n".join(f"- {message}" for message in section.rules)
