"""The tasks that this process knows of: one store for RunTask's answers, sweeps and lookups.

Each sight passes the monotonic merge; whatever changes wakes the object it belongs to. Only tasks
that an object claims in its status or asks to adopt, or whose ``startedBy`` or tags name this
installation, are kept.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from fractal_models.observed import ObservedTask, TaskArn
from fractal_operator.core import claims, tokens
from fractal_operator.core.losses import LOST_AFTER
from fractal_operator.core.monotonic import changed, newer
from fractal_operator.core.plan import Missing
from fractal_operator.shell.wishes import Wishes

log = logging.getLogger(__name__)

KEPT_STOPPED = timedelta(hours=2)


class Tasks:
    """Tasks by ARN, and for each object (uid) the ARNs that concern it."""

    def __init__(
        self, install: str, wake: Callable[[str], None], duplicate: Callable[[], None]
    ) -> None:
        self._install = install
        self._wake = wake
        self._duplicate = duplicate
        self._seen: dict[TaskArn, ObservedTask] = {}
        self._launched: set[TaskArn] = set()
        self._missing: dict[TaskArn, Missing] = {}
        self._alive: set[str] = set()
        self._arns: dict[str, set[TaskArn]] = {}
        self._claims: dict[TaskArn, set[str]] = {}
        self._close: set[str] = set()
        self._strangers: dict[str, dict[TaskArn, ObservedTask]] = {}
        self._wishes = Wishes()
        self._restless: set[TaskArn] = set()  # all that may be moving, and few others

    def owner(self, task: ObservedTask) -> str | None:
        """The uid that a task of this installation belongs to: by its tags if it was adopted.

        None for one that was let go of, and that another installation has taken over.
        """
        holder = task.tag(tokens.TAG_INSTALL)
        if holder == self._install and task.tag(tokens.TAG_UID):
            return task.tag(tokens.TAG_UID)
        if holder and task.tag(tokens.TAG_RETAINED):
            return None
        origin = tokens.parse_started_by(task.started_by)
        return origin.uid if origin and origin.install == self._install else None

    def claim(self, uid: str, arns: Iterable[str]) -> None:
        """Note which tasks an object's status claims (all of them), so that they are observed.

        What cannot be a task's ARN counts as absent: anybody may edit a status.
        """
        self._alive.add(uid)
        claimed = {TaskArn(arn) for arn in arns if claims.well_formed(arn)}
        known = self._arns.setdefault(uid, set())
        for arn in known - claimed - {self._wishes.of(uid)}:
            if self._unclaim(uid, arn):
                if self._lost(arn) and self._owner_of(arn) in (uid, None):
                    # Given up: the last sight of it must not be adopted again.
                    self._unsee(arn)
                self._missing.pop(arn, None)
            if arn not in self._seen:
                known.discard(arn)
        for arn in claimed:
            if uid not in self._claims.get(arn, ()):
                self._claims.setdefault(arn, set()).add(uid)
                self._restless.add(arn)
            if arn not in known:  # as another installation's task it may have been let go of since
                self._strangers.get(uid, {}).pop(arn, None)
        known.update(claimed)

    def _unclaim(self, uid: str, arn: TaskArn) -> bool:
        """Whether nobody claims the task any more, now that ``uid`` does not."""
        others = self._claims.get(arn, set())
        was = uid in others
        others.discard(uid)
        if not others:
            self._claims.pop(arn, None)
        return was and not others

    def wish(self, uid: str, arn: str) -> None:
        """Note the task that an object asks to adopt ("": none), so that it is observed, too."""
        old = self._wishes.put(uid, arn)
        if arn:
            self._arns.setdefault(uid, set()).add(TaskArn(arn))
        if old is not None:
            self._restless.add(old)
        if old is None or uid in self._claims.get(old, ()) or uid == self._owner_of(old):
            return
        self._arns.get(uid, set()).discard(old)
        if not (self._wishes.by(old) or old in self._claims or self._owner_of(old)):
            self._drop(old, None)
            self._missing.pop(old, None)

    def wished(self, cluster_arn: str, *, closely: bool = False) -> list[TaskArn]:
        """The tasks of a cluster that objects ask to adopt; ``closely``: those awaited now."""
        arns = self._wishes.under(tokens.task_prefix(cluster_arn))
        return [arn for arn in arns if not closely or self._wishes.by(arn) & self._close]

    def watch_closely(self, uid: str, wanted: bool) -> None:
        """Whether the object waits for its running task to do more (be healthy, get an address)."""
        if wanted and uid not in self._close:
            self._close.add(uid)
            self._restless |= self._arns.get(uid, set())
        elif not wanted:
            self._close.discard(uid)

    def awaited(self, task: ObservedTask) -> bool:
        """Whether somebody watches closely what becomes of this task."""
        return not self._close.isdisjoint({self.owner(task), *self._claims.get(task.arn, ())})

    def forget(self, uid: str) -> None:
        """The object is gone: drop what concerned it, but for live tasks of ours (orphans)."""
        self._close.discard(uid)
        self._alive.discard(uid)
        self.wish(uid, "")
        for arn in self._arns.pop(uid, set()):
            if self._unclaim(uid, arn) or arn not in self._claims:
                self._missing.pop(arn, None)
            task = self._seen.get(arn)
            if task is not None and not (task.live and self.owner(task)):
                self._drop(arn, None)

    def of(self, uid: str) -> tuple[ObservedTask, ...]:
        """All known tasks that concern an object: claimed, or launched for it by anybody."""
        arns = sorted(self._arns.get(uid, ()))
        own = [self._seen[arn] for arn in arns if arn in self._seen]
        others = self._strangers.get(uid, {})
        return (*own, *(others[arn] for arn in sorted(others) if arn not in self._seen))

    def _note_stranger(self, task: ObservedTask) -> None:
        """Another installation's task: should its uid be one of ours, it bars a launch."""
        origin = tokens.parse_started_by(task.started_by)
        if origin is not None and task.live:
            self._strangers.setdefault(origin.uid, {})[task.arn] = task
            self._wake(origin.uid)

    def barring(self, cluster_arn: str) -> set[TaskArn]:
        """Other installations' tasks in a cluster of our objects: they may be let go of."""
        prefix, uids = tokens.task_prefix(cluster_arn), self._alive & self._strangers.keys()
        return {arn for uid in uids for arn in self._strangers[uid] if arn.startswith(prefix)}

    def keep_strangers(self, cluster_arn: str, listed: Iterable[TaskArn]) -> None:
        """Forget other installations' tasks of a cluster that a list does not show any more."""
        prefix, shown = tokens.task_prefix(cluster_arn), set(listed)
        for uid, others in list(self._strangers.items()):
            kept = {a: t for a, t in others.items() if not a.startswith(prefix) or a in shown}
            if len(kept) < len(others):
                self._wake(uid)
            if kept:
                self._strangers[uid] = kept
            else:
                del self._strangers[uid]

    def sight(self, arn: TaskArn) -> ObservedTask | None:
        """The last sight of a task, None without one."""
        return self._seen.get(arn)

    def take_back(self, arn: TaskArn) -> None:
        """Forget the sight of a task: it was not true."""
        if self._seen.pop(arn, None) is not None:
            self._restless.add(arn)

    def concerns(self, task: ObservedTask) -> bool:
        """Whether a task is ours, or claimed or wished for by an object."""
        return bool(self._concerned(task))

    def announced(self, arn: TaskArn) -> bool:
        """Whether events tell of a task: their rule takes what this installation has started."""
        task = self._seen.get(arn)
        origin = tokens.parse_started_by(task.started_by) if task is not None else None
        return origin is not None and origin.install == self._install

    def missing_of(self, uid: str) -> dict[TaskArn, Missing]:
        arns = self._arns.get(uid, ())
        return {arn: self._missing[arn] for arn in arns if arn in self._missing}

    def observe(self, task: ObservedTask, *, launched: bool = False) -> None:
        """Take in one sight of a task; wakes its object if anything changed.

        ``launched``: it is RunTask's answer, or an event; after those ECS may call the task MISSING
        for a while.
        """
        uids, old = self._concerned(task), self._seen.get(task.arn)
        if not uids and (old is None or self._taken_over(task)):
            if old is not None:
                self._drop(task.arn, self._owner_of(task.arn))
            self._note_stranger(task)
            return
        kept = newer(old, task)
        if old is None and kept.live and any(self._twin(uid, kept) for uid in uids):
            log.error("second live task %s for %s", kept.arn, kept.started_by)
            self._duplicate()
        if not launched:
            self._launched.discard(task.arn)
        elif old is None:
            self._launched.add(task.arn)
        self._seen[task.arn] = kept
        news = changed(old, kept)
        if news:
            self._restless.add(task.arn)
        was_missing = self._missing.pop(task.arn, None) is not None
        for uid in uids:
            self._arns.setdefault(uid, set()).add(task.arn)
            if was_missing or news:
                self._wake(uid)

    def _taken_over(self, task: ObservedTask) -> bool:
        """Whether another installation has; one without tags was stopped, and its end is heard."""
        return task.tag(tokens.TAG_INSTALL) not in ("", self._install)

    def _concerned(self, task: ObservedTask) -> list[str]:
        """The objects that a task is or shall be of: at most one but for forgeries and races."""
        claimants = self._claims.get(task.arn, ())
        uids = {self.owner(task), *claimants, *self._wishes.by(task.arn)}
        return sorted(uid for uid in uids if uid is not None)

    def _twin(self, uid: str, task: ObservedTask) -> ObservedTask | None:
        """Another live task of the same object and attempt: what must never be."""
        for other in self.of(uid):
            if other.live and other.arn != task.arn and other.started_by == task.started_by:
                return other
        return None

    def absent(self, arn: TaskArn, now: datetime) -> None:
        """ECS answered MISSING; wakes the object once that has lasted long enough to mean it."""
        owner = self._owner_of(arn)
        waiting = self._alive.intersection(self._claims.get(arn) or {owner or ""})
        if not waiting and self._wishes.by(arn):
            self._no_such(arn, now)
            return
        if not waiting:
            self._drop(arn, owner)  # nobody waits for it: its object went before it
            return
        known = self._missing.get(arn)
        first = known.first if known else now
        self._missing[arn] = Missing(first, now, known.count + 1 if known else 1)
        if known is not None and now - first >= LOST_AFTER:
            for uid in sorted(waiting):
                self._wake(uid)

    def _no_such(self, arn: TaskArn, now: datetime) -> None:
        """ECS does not know a task that is only wished for."""
        self.take_back(arn)
        if arn not in self._missing:
            self._missing[arn] = Missing(now, now, 1)
            for uid in sorted(self._wishes.by(arn)):
                self._wake(uid)

    def _unsee(self, arn: TaskArn) -> None:
        self.take_back(arn)
        self._launched.discard(arn)

    def _drop(self, arn: TaskArn, uid: str | None) -> None:
        self._unsee(arn)
        if uid is None:
            return
        arns = self._arns.get(uid, set())
        arns.discard(arn)
        if not arns and uid not in self._alive:
            self._arns.pop(uid, None)

    def present(self, arns: Iterable[TaskArn]) -> None:
        """A list shows these tasks: they are not missing."""
        for arn in arns:
            self._missing.pop(arn, None)
            self._launched.discard(arn)

    def _lost(self, arn: TaskArn) -> bool:
        absent = self._missing.get(arn)
        return absent is not None and absent.last - absent.first >= LOST_AFTER

    def _owner_of(self, arn: TaskArn) -> str | None:
        task = self._seen.get(arn)
        return self.owner(task) if task else None

    def expected(self, cluster_arn: str) -> list[TaskArn]:
        """The ARNs in a cluster that should be there: claimed or known to live."""
        prefix, arns = tokens.task_prefix(cluster_arn), {*self._claims, *self._seen}
        return [arn for arn in arns if arn.startswith(prefix) and self._is_expected(arn)]

    def _is_expected(self, arn: TaskArn) -> bool:
        task = self._seen.get(arn)
        if task is not None and task.stopped:
            return False
        wished_only = self._wishes.by(arn) and not self._owner_of(arn)
        return arn in self._claims or (task is not None and not wished_only)

    def moving(self, cluster_arn: str) -> list[TaskArn]:
        """Of these, the ones that are expected to change soon, or were never seen.

        Asked every second or two, so it looks only at what has changed since it did not move.
        """
        prefix = tokens.task_prefix(cluster_arn)
        here = {arn for arn in self._restless if arn.startswith(prefix)}
        moving = [arn for arn in here if self._is_expected(arn) and self._moves(arn)]
        self._restless -= here.difference(moving)
        return moving

    def vanished(self, cluster_arn: str) -> list[TaskArn]:
        """Of these, the ones that ECS does not know any more though it once showed them.

        One that only RunTask, or a status, tells of may as well be too new to be shown.
        """
        prefix = tokens.task_prefix(cluster_arn)
        here = (arn for arn in self._missing if arn.startswith(prefix) and self._is_expected(arn))
        return [arn for arn in here if self._was_shown(arn) or self._lost(arn)]

    def _was_shown(self, arn: TaskArn) -> bool:
        return arn in self._seen and arn not in self._launched

    def prune(self, now: datetime) -> None:
        """Drop tasks that stopped long ago and that no status claims any more."""
        for arn, task in list(self._seen.items()):
            if task.stopped and arn not in self._claims and now - task.observed_at > KEPT_STOPPED:
                self._drop(arn, self.owner(task))

    def ours(self) -> list[ObservedTask]:
        """All tasks of this installation that live as far as is known, also those of no object."""
        return [task for task in self._seen.values() if task.live and self.owner(task)]

    def lives(self, arn: TaskArn) -> bool:
        """Whether the task is known and has not stopped."""
        task = self._seen.get(arn)
        return task is not None and task.live

    def shown(self, arn: TaskArn, now: datetime, within: timedelta = LOST_AFTER) -> bool:
        """Whether ECS has shown of late that the task lives."""
        task = self._seen.get(arn)
        return task is not None and task.live and now - task.observed_at < within

    def _moves(self, arn: TaskArn) -> bool:
        task = self._seen.get(arn)
        if task is None or task.last_status != "RUNNING" or task.desired_status == "STOPPED":
            return True
        return self.awaited(task)
