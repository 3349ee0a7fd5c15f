"""How this process gets to know the objects: by the watch, and by lists for what that misses."""

import logging
from collections.abc import Mapping
from typing import Any

from fractal_models.errors import AccessDenied, FractalError
from fractal_operator.core.plan import Policy
from fractal_operator.health import FIRST_LIST, Health
from fractal_operator.metrics import Metrics
from fractal_operator.ports import Clock, Kube, ObjectKey
from fractal_operator.shell.act import Actor
from fractal_operator.shell.agenda import Agenda
from fractal_operator.shell.clusters import Clusters
from fractal_operator.shell.hearing import Hearing
from fractal_operator.shell.objects import Body, key_of, older, uid_of, version_of
from fractal_operator.shell.reconcile import Reconciler

log = logging.getLogger(__name__)

RESYNC_SECONDS = 600.0
"""Between two lists of everything."""

EMPTY_SECONDS = 15.0
"""The same while there is no object: after the CRD was deleted and installed again kopf's watch may
miss that it is served, and with nothing to list a list costs nothing."""


class News:
    """``watched`` takes the watch's events; ``resync`` is a loop. ``listed``: there was a list."""

    def __init__(
        self,
        *,
        kube: Kube,
        clock: Clock,
        agenda: Agenda,
        clusters: Clusters,
        hearing: Hearing,
        reconciler: Reconciler,
        actor: Actor,
        metrics: Metrics,
        health: Health,
        policy: Policy,
    ) -> None:
        self.listed = False
        self._install = policy.install
        self._selector = policy.selector
        self._kube = kube
        self._clock = clock
        self._agenda = agenda
        self._objects = agenda.objects
        self._clusters = clusters
        self._hearing = hearing
        self._reconciler = reconciler
        self._actor = actor
        self._metrics = metrics
        self._health = health

    def watched(self, kind: str, body: Mapping[str, Any]) -> None:
        """One event of the watch."""
        self._hearing.heard(kind, body)
        self._metrics.watch_event.set(self._clock.now().timestamp())
        self.event(kind, body)

    def event(self, kind: str, body: Mapping[str, Any]) -> None:
        """How an object is or was, from the watch or from a list."""
        key = key_of(body)
        if kind == "DELETED" and self._selector:
            # Or its labels were edited, of which a watch that selects tells in the same words.
            self._reconciler.doubt(uid_of(body))
            self._agenda.look(key)
            return
        if kind == "DELETED":
            self._vanished(key, uid_of(body))
            return
        known = self._objects.known(key)
        if not self._objects.seen(body):
            return  # late news, also of a predecessor
        if known is not None and known.uid != uid_of(body):
            self._end(known.body())
        if known is None or known.version != version_of(body):  # else the echo of an own write
            self._agenda.look(key)

    async def resync(self) -> None:
        """List everything, at the start and now and then: what the watch missed."""
        while True:
            self._health.beat("lists", 3 * RESYNC_SECONDS)
            try:
                await self._list()
                pause = RESYNC_SECONDS if len(self._objects) else EMPTY_SECONDS
            except FractalError as error:
                log.warning("listing FractalContainers failed, tried again: %s", error)
                pause = 5.0
            await self._clock.sleep(pause)

    async def _list(self) -> None:
        before = {known.uid: known.key for known in self._objects.all()}
        listed = await self._kube.list()
        self._hearing.listed(listed)
        if self._selector and not self.listed:
            # Labels may have been edited while nobody ran, and so may the selector.
            for body in await self._kube.claimed(self._install):
                self.event("", body)
        keys: list[ObjectKey] = []
        for body in listed:
            known = self._objects.known(key_of(body))
            if known is not None and older(body, known):
                before[known.uid] = known.key  # left to a read of its own
                continue
            before.pop(uid_of(body), None)
            self.event("", body)
            keys.append(key_of(body))
        if not self.listed:
            for key in keys:
                self._agenda.look(key)
        refused: set[str] = set()
        for uid, key in before.items():
            # A list may be older than an object just made or written; but after a restore of etcd
            # versions begin again below the known ones. Only a read tells which it is.
            if key.namespace in refused:
                continue
            try:
                await self._read(uid, key)
            except AccessDenied:  # not listed either: what is known of this namespace stands
                refused.add(key.namespace)
        self._reconciler.settle()
        if self.listed and self._agenda.led.is_set():
            self._drop_clusters()
        if self.listed:
            self._agenda.look_again(keys)
        self.listed = True
        self._health.set(FIRST_LIST)

    def _drop_clusters(self) -> None:
        """Drop those that no object leads to any more."""
        named = [name for each in self._objects.all() for name in self._reconciler.clusters(each)]
        if named:
            self._clusters.keep(named)

    async def _read(self, uid: str, key: ObjectKey) -> None:
        """Believe a fresh read of an object that a list does not show as it is known."""
        fresh = await self._kube.get(key)
        if fresh is None or uid_of(fresh) != uid:
            self._vanished(key, uid)
        if fresh is not None:
            self._objects.read(fresh)
            self._agenda.look(key)

    def _vanished(self, key: ObjectKey, uid: str) -> None:
        known = self._objects.gone(key, uid)
        if known is not None:
            self._end(known)

    def _end(self, known: Body) -> None:
        if self._agenda.led.is_set():  # else the leader records it, or the next one's audit
            try:
                self._actor.vanished(known)
            except Exception:  # told in passing: one object's trouble must not end the list
                log.exception("the end of %s cannot be recorded", key_of(known))
