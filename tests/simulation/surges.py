"""What an object may have under updateStrategy Surge, from the statuses that were written.

Both clauses hold of what was meant when it was written: a strategy that is edited afterwards undoes
neither a launch that is under way nor a stop.
"""

from typing import TYPE_CHECKING

from tests.simulation.notes import Notes
from tests.unit.shell.kube_world import Body

from fractal_models.container import Role, Status, Task
from fractal_models.observed import TaskArn
from fractal_operator.core.failures import OUR_STOPS

if TYPE_CHECKING:
    from tests.simulation.world import World


class Surges:
    """Which launches were meant beside another task, and which tasks made way for none."""

    def __init__(self, world: "World", notes: Notes) -> None:
        self.world, self.notes = world, notes
        self._meant: dict[tuple[str, int], bool] = {}  # (uid, attempt) -> armed under Surge

    def most(self, uid: str, number: int) -> int:
        """How many live tasks an object may have once its attempt ``number`` is launched."""
        return 2 if self._meant.get((uid, number)) else 1

    def launched(self, live: list[TaskArn]) -> None:
        if len(live) == 2:
            self.notes.sometimes["two live tasks under Surge"] += 1

    def written(self, old: Status, body: Body) -> str:
        """What a status that was just written says that it must not, "" if nothing."""
        status, uid = self.notes.status(body), body["metadata"]["uid"]
        surge = body["spec"].get("updateStrategy") == "Surge"
        attempt, before = status.attempt, old.attempt
        armed = attempt is not None and (
            before is None
            or (before.number, before.last_issued_at) != (attempt.number, attempt.last_issued_at)
        )
        if attempt is not None and armed:
            self._meant[uid, attempt.number] = surge
        served = next((each for each in old.tasks if each.role is Role.CURRENT), None)
        if not surge or served is None or served.last_status != "RUNNING":
            return ""
        self._failed(old, status, served)
        if uid in self.notes.wiped or not self._waits(body, served):
            return ""
        retires = [each for each in status.tasks if each.arn == served.arn]
        if not retires or retires[0].reason not in ("Replaced", "Restarted", "Superseded"):
            return ""
        if retires[0].role is not Role.RETIRING or self._followed(status, served):
            return ""
        return f"S3: {served.arn} of {uid} makes way for a task that never ran"

    def _waits(self, body: Body, served: Task) -> bool:
        """Whether the task must be waited for: it runs, where the spec wants its like to run."""
        task, spec = self.world.ecs.tasks.get(TaskArn(served.arn)), body["spec"]
        if task is None or task.desired_status == "STOPPED" or task.last_status != "RUNNING":
            return False
        here = task.cluster_arn.rpartition("/")[2] == spec.get("cluster", "main")
        return bool(here and spec.get("restartPolicy", "Always") == "Always")

    def _followed(self, status: Status, served: Task) -> bool:
        return any(
            each.attempt > served.attempt
            and each.role is Role.CURRENT
            and TaskArn(each.arn) in self.world.ecs.ran
            for each in status.tasks
        )

    def _failed(self, old: Status, status: Status, served: Task) -> None:
        known = {end.attempt for end in old.last_terminations}
        ends = [end for end in status.last_terminations if end.attempt not in known]
        stays = any(each.arn == served.arn and each.role is Role.CURRENT for each in status.tasks)
        failed = any(
            each.attempt > served.attempt for each in ends if each.stop_code not in OUR_STOPS
        )
        if stays and failed:
            self.notes.sometimes["surge failed and the old stayed"] += 1
