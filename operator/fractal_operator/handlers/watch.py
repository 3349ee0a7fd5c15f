"""kopf's part: turn watch events into keys of the work queue. No decision is made here.

kopf keeps the watch alive (bookmarks, relists, reconnects). Its handlers for create, update and
delete, its annotations and its finalizer are not used: they act on what changed, once, while the
operator acts on what is, as often as needed (docs/decisions/0001).
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory  # kopf exports neither

from fractal_models.kube import GROUP, PLURAL, VERSION

Sink = Callable[[str, Mapping[str, Any]], None]


def registry(sink: Sink) -> kopf.OperatorRegistry:
    """A registry whose only handler passes each event's type and body on to ``sink``.

    The type is ADDED, MODIFIED, DELETED, or "" for an object of the first list.
    """
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def credentials(**kwargs: Any) -> Any:
        return _login(**kwargs)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        sink(event["type"] or "", event["object"])

    return handlers


def settings(selector: str = "") -> kopf.OperatorSettings:
    """kopf's settings: no Events of its own, short request timeouts, quick reconnects.

    With a label ``selector`` it lists and watches only the objects that this selects.
    """
    chosen = kopf.OperatorSettings()
    if selector:
        chosen.watching.label_selectors[GROUP, VERSION, PLURAL] = selector
    chosen.posting.enabled = False
    chosen.persistence.finalizer = "fractal.co/unused"
    chosen.persistence.diffbase_storage = _NoDiffs()
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    # Servers send a bookmark a minute: a connection that is silent for longer is dead.
    chosen.watching.inactivity_timeout = 70
    chosen.watching.chunk_size = 500  # else the first list is in memory as a whole
    chosen.queueing.exit_timeout = 1
    chosen.queueing.idle_timeout = 1
    return chosen


class Forgetful(ResourceMemories):
    """What kopf would remember of each object for handlers that are not used: 5 KiB an object."""

    async def recall(self, raw_body: Any, **options: Any) -> ResourceMemory:
        return await super().recall(raw_body, **{**options, "ephemeral": True})


class _NoDiffs(kopf.DiffBaseStorage):
    """Nothing is kept of an object, and nothing compared.

    kopf's own storage reads an annotation before it calls any handler; one that is not as kopf
    writes it, as anybody could, would keep the object's events from us.
    """

    def build(self, *, body: Any, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        pass


def _login(**kwargs: Any) -> Any:
    """Credentials as kubectl has them: KUBECONFIG, the pod's service account, ~/.kube/config."""
    if os.environ.get("KUBECONFIG"):
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
