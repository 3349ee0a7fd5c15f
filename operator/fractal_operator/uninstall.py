"""Whether the operator may be uninstalled: not while an object needs it to be deleted.

Uninstalled first, it leaves tasks running, and objects that stay Terminating for ever: nobody else
stops their tasks and takes their finalizers off. The chart asks by a hook before it uninstalls.
"""

from collections.abc import Iterable, Sequence

from fractal_helpers.kube import KubeClient
from fractal_models.errors import FractalError, NotServed
from fractal_operator.core.plan import FINALIZER
from fractal_operator.core.selector import Selector
from fractal_operator.shell.objects import Body, key_of

NAMED = 10
"""How many objects the refusal names."""


async def in_use(namespaces: Sequence[str], selector: Selector) -> list[str]:
    """Return namespace/name of the objects that only this operator can let go, sorted.

    ``namespaces`` are those that it watches; none: all. Those that ``selector`` leaves to another
    installation are none of its business. Raises the errors of ``KubeClient``, also
    when only one namespace cannot be listed: it may hold objects.
    """
    found: list[str] = []
    for namespace in namespaces or ("",):
        kube = await KubeClient.connect(namespaces=[namespace], selector=str(selector))
        try:
            found += held(await kube.list())
        except NotServed:
            return []  # without the CRD there is no object
        finally:
            await kube.close()
    return sorted(found)


def held(bodies: Iterable[Body]) -> list[str]:
    """Return namespace/name of the objects that have the operator's finalizer, sorted."""
    return sorted(
        str(key_of(body)) for body in bodies if FINALIZER in body["metadata"].get("finalizers", ())
    )


def refusal(names: Sequence[str], selector: Selector) -> str:
    """Why the operator may not be uninstalled yet, and what to do, in one line."""
    chosen, option = (f" with labels {selector}", f"-l '{selector}'") if selector else ("", "--all")
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    subject = (
        f"FractalContainer{chosen} needs" if len(names) == 1 else f"FractalContainers{chosen} need"
    )
    return (
        f"{len(names)} {subject} this operator to be deleted: {shown}. Delete them first, and wait "
        f"until they are gone (kubectl delete fractalcontainers {option} --all-namespaces). To "
        "leave their tasks running instead, for a later installation under the same names: "
        "helm uninstall --no-hooks."
    )


def unknown(error: FractalError) -> str:
    """Why it cannot be told whether the operator may be uninstalled, and what to do."""
    return (
        f"it cannot be told whether FractalContainers still need this operator: {error}. It takes "
        "the right to list fractalcontainers, as the operator's own account has it. If you know "
        "that none is left: helm uninstall --no-hooks."
    )
