"""The planted bugs: changes of a line or two of the product's own source, each caught by a seed.

A deed that only a unit test of its layer can see, since another layer makes up for it, names that
test. Where ``old`` does not stand in its file exactly once, the code has moved: so has the bug to.
"""

from dataclasses import dataclass

CORE, SHELL = "operator/fractal_operator/core", "operator/fractal_operator/shell"


@dataclass(frozen=True)
class Bug:
    """``old`` becomes ``new``; ``also`` are further changes of the same file. ``seed`` is one that
    catches it, ``says`` the invariant that it breaks; or ``test`` is a directed one that fails."""

    name: str
    file: str
    old: str
    new: str
    seed: int = 0
    says: str = ""
    also: tuple[tuple[str, str], ...] = ()
    test: str = ""


BUGS = (
    Bug(
        "a task that runs is adopted by nobody",
        f"{CORE}/merge.py",
        "if task.live and task.arn not in listed:",
        "if False:",
        1,
        "L",
    ),
    Bug(
        "a deletion stops nothing",
        f"{CORE}/ending.py",
        "    for entry in state.entries:\n        if entry.role is not Role.RETIRING:\n"
        "            state = retire(state, entry, reason)\n",
        "",
        2,
        "L2",
    ),
    Bug(
        "a new token for each call",
        f"{SHELL}/launches.py",
        "result = await self._ecs.run_task(action.region, action.request)",
        "token = f'{action.request[\"clientToken\"]}{self._clock.monotonic()}'\n"
        "            request = {**action.request, 'clientToken': token}\n"
        "            result = await self._ecs.run_task(action.region, request)",
        7,
        "S1",
    ),
    Bug(
        "RunTask without a recorded intent",
        f"{CORE}/begin.py",
        "return Verdict(armed, situation, arms=attempt.number)",
        "from fractal_operator.core.plan import RunTask\n"
        "    call = RunTask(tokens.region_of(cluster_arn), attempt.number, rendered)\n"
        "    return Verdict(armed, situation, calls=(call,), quiet=True)",
        6,
        "S2",
    ),
    Bug(
        "the finalizer comes after the task",
        f"{CORE}/decide.py",
        "if FINALIZER not in seen.finalizers:",
        "if FINALIZER not in seen.finalizers and (seen.deleting_since or seen.status.tasks):",
        1,
        "S2",
    ),
    Bug(
        "a call that this process does not remember arming",
        f"{CORE}/launch.py",
        "if again != attempt or late or known is None:",
        "if again != attempt or late:",
        test="tests/simulation/test_found.py",
    ),
    Bug(
        "no drain",
        f"{CORE}/draining.py",
        "DRAIN = timedelta(seconds=420)",
        "DRAIN = timedelta(seconds=1)",
        2,
        "S",
    ),
    Bug(
        "missing once is gone",
        f"{CORE}/losses.py",
        "if absent is None or absent.count < 2 or absent.last - absent.first < LOST_AFTER:",
        "if absent is None:",
        30,
        "[SL]",
    ),
    Bug(
        "writes without the fence of the version",
        f"{SHELL}/act.py",
        "after = await self._kube.write_status(body, wanted)",
        "body = await self._kube.get(self._objects.key(seen.uid)) or body\n"
        "        after = await self._kube.write_status(body, wanted)",
        27,
        "S5",
    ),
    Bug(
        "no order of versions",
        f"{CORE}/monotonic.py",
        "if after < before or (after == before and _is_late(old, new)):",
        "if False:",
        test="tests/unit/core/test_monotonic.py",
    ),
    Bug(
        "a lost answer counts as a refusal",
        f"{SHELL}/launches.py",
        "certain = known.certain and not isinstance(error, OutcomeUnknown | TokenConflict)",
        "certain = known.certain and not isinstance(error, TokenConflict)",
        17,
        "S",
    ),
    Bug(
        "the finalizer goes when the stop was asked for",
        f"{CORE}/ending.py",
        "    if not state.entries:\n        return None\n    return Verdict(",
        "    if not state.entries or all(each.arn in state.seen.stops for each in state.entries):\n"
        "        return None\n    return Verdict(",
        1,
        "S4",
    ),
    Bug(
        "the number of an attempt is used again",
        f"{CORE}/begin.py",
        "number=state.highest + 1,",
        "number=state.highest or 1,",
        9,
        "L1",
    ),
    Bug(
        "whoever deletes forgets an attempt without a task",
        f"{CORE}/ending.py",
        "if attempt is not None and not draining.drained(state, attempt):\n"
        "        return replace(draining.drain(state, attempt, waiting), calls=stop_calls(state))\n"
        "    if not",
        "if not",
        9,
        "S",
    ),
    Bug(
        "the periodic list is gone",
        f"{SHELL}/news.py",
        "pause = RESYNC_SECONDS if len(self._objects) else EMPTY_SECONDS",
        "pause = 1e9",
        35,
        "L",
    ),
    Bug(
        "what the database does not take is not offered again",
        f"{SHELL}/record.py",
        "self._retry_at = self._clock.monotonic() + pause.total_seconds()",
        "self._retry_at = self._clock.monotonic() + 1e9",
        17,
        "L4",
    ),
    Bug(
        "an edit replaces nothing",
        f"{CORE}/begin.py",
        "return now is not None and now != recorded",
        "return False",
        17,
        "L1",
    ),
    Bug(
        "a surge that does not wait until the new task is ready",
        f"{CORE}/surge.py",
        "if beside and not steady.shown(state, spec, coming).situation.ready:",
        "if False:",
        76,
        "S3",
    ),
    Bug(
        "a surge that makes a third task",
        f"{CORE}/surge.py",
        "if len(state.entries) > 1 or state.surplus:",
        "if False:",
        83,
        "S1",
    ),
    Bug(
        "a surge whose new task, found, displaces the old one",
        f"{CORE}/merge.py",
        "if older and spec is not None and spec.update_strategy is UpdateStrategy.SURGE:",
        "if False:",
        76,
        "S3",
    ),
    Bug(
        "a surge for every object",
        f"{CORE}/surge.py",
        "if spec.update_strategy is not UpdateStrategy.SURGE or ",
        "if ",
        9,
        "S1",
    ),
    Bug(
        "what a list does not show is gone",
        f"{SHELL}/observe.py",
        "        for gone in missing:\n            self.tasks.absent(gone, began)\n",
        "        from datetime import timedelta\n"
        "        for gone in expected - listed:\n"
        "            self.tasks.absent(gone, began - timedelta(seconds=400))\n"
        "            self.tasks.absent(gone, began)\n",
        1,
        "[SL]",
    ),
    Bug(
        "the reaper believes a list from a cache",
        f"{SHELL}/reap.py",
        "bodies = await self._kube.list()",
        "bodies = self._bodies = getattr(self, '_bodies', None) or await self._kube.list()",
        9,
        "S4",
        also=(("body = await self._kube.get(key)", "body = None"),),
    ),
    Bug(
        "the reaper stops what was retained",
        f"{CORE}/orphans.py",
        "return Kind.RETAINED",
        "pass",
        92,
        "(S3|S4|L2)",
    ),
    Bug(
        "the reaper looks away",
        f"{SHELL}/reap.py",
        "for task in judgement.stop if self._stops else ():",
        "for task in ():",
        9,
        "L3",
    ),
    Bug(
        "the first sweep does not look at what has stopped",
        f"{SHELL}/observe.py",
        "if cluster.swept_since is None:\n            listed |=",
        "if False:\n            listed |=",
        test="tests/unit/shell/test_observe.py",
    ),
    Bug(
        "what a process was sure of outlives that another one took over",
        f"{SHELL}/act.py",
        "memory.launch = Launch(number, certain=False)",
        "pass",
        test="tests/unit/shell/test_regressions.py",
    ),
    Bug(
        "a secret in an error's text is shown",
        f"{SHELL}/problems.py",
        "redact(str(error))",
        "str(error)",
        43,
        "S7",
    ),
    Bug(
        "an object that is broken is tried at full speed",
        f"{SHELL}/workers.py",
        "again = self._queue.retry(key, await self._poison.broke(key, error))\n"
        "            log.exception",
        "again = 0.1\n            self._queue.add_after(key, again)\n            log.exception",
        6,
        "S9",
    ),
    Bug(
        "a wiped status counts as one that was never written",
        f"{CORE}/doubt.py",
        "return not _swept(target, since)",
        "return False",
        test="tests/unit/core/test_ending.py",
    ),
    Bug(
        "a row that stands otherwise than it was written stays so",
        f"{SHELL}/audit.py",
        "wrong = not says_the_same(row, written)",
        "wrong = False",
        test="tests/unit/shell/test_audit.py",
    ),
    Bug(
        "a row leads to no cluster",
        f"{SHELL}/audit.py",
        "return self._clusters.of(tokens.region_of(arn), arn, held=True) if arn else None",
        "return None",
        test="tests/simulation/test_found.py",
    ),
    Bug(
        "the end of a task without its tags is not heard",
        f"{SHELL}/tasks.py",
        "if not uids and (old is None or self._taken_over(task)):",
        "if not uids:",
        test="tests/unit/shell/test_adopting.py",
    ),
    Bug(
        "a list that is narrowed ends an adoption with its tags on their way",
        f"{CORE}/adoption.py",
        "if not refusal and not _listed(state, arn) and _untagged(state, attempt):",
        "if not refusal and not _listed(state, arn):",
        test="tests/unit/core/test_adoption.py",
    ),
    Bug(
        "events are deleted before they are taken in",
        f"{SHELL}/events.py",
        "done = self._take(messages)\n            if done and self._leads():\n"
        "                await self._delete(done)",
        "await self._delete([each.receipt for each in messages])\n            self._take(messages)",
        test="tests/unit/shell/test_events.py",
    ),
    Bug(
        "events are news in whatever order they come",
        f"{SHELL}/events.py",
        "return not old.stopped and (new.stopped or new.version > old.version)",
        "return True",
        test="tests/unit/shell/test_events.py",
    ),
    Bug(
        "an event may give a task to another object",
        f"{SHELL}/events.py",
        "if old is not None and old.started_by and old.started_by != task.started_by:",
        "if False:",
        test="tests/unit/shell/test_events.py",
    ),
    Bug(
        "an empty queue is relied on though ECS shows changes",
        f"{SHELL}/stream.py",
        "if self._silent_since is not None:\n            return",
        "if False:\n            return",
        test="tests/unit/shell/test_stream.py",
    ),
    Bug(
        "an event's word alone ends a task",
        f"{SHELL}/observe.py",
        "            if task.stopped:\n                self._hearsay.tell(task)\n            elif",
        "            if",
        test="tests/unit/shell/test_events.py",
    ),
    Bug(
        "a forged version is final",
        f"{SHELL}/observe.py",
        "if old is not None and self._is_contradicted(old, task):",
        "if False:",
        test="tests/unit/shell/test_events.py",
    ),
    Bug(
        "rows are overwritten by whatever comes later",
        "helpers/fractal_helpers/upserts.py",
        "set_=values, where=newer)",
        "set_=values)",
        test="tests/integration/test_ledger.py::test_which_container_record_wins",
    ),
    Bug(
        "whoever waits for a permit is not looked at when it has one",
        f"{SHELL}/permits.py",
        "            self._wake(waiter.uid)\n",
        "",
        test="tests/unit/shell/test_permits.py",
    ),
    Bug(
        "namespaces do not take turns",
        f"{SHELL}/turns.py",
        "        self._lanes.move_to_end(name)\n",
        "",
        test="tests/unit/shell/test_turns.py",
    ),
    Bug(
        "launches may use up what is reserved for stops",
        "helpers/fractal_helpers/aws/bucket.py",
        "wait = self._wait(reserve)\n            if not wait:\n"
        "                self._reserves[reserve].level -= 1\n                return 0.0",
        "wait = self._wait(reserve)\n            if not wait:\n"
        "                for each in self._reserves.values():\n"
        "                    each.level -= 1\n                return 0.0",
        test="tests/unit/test_aws_limits.py",
    ),
)
