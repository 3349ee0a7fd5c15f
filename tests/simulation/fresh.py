"""L7: whatever the path of edits, its end is what a fresh apply of the last spec comes to.

The last spec is applied in a world without faults or past, and what stands there in the end is
compared: the status without numbers, times and ARNs, and the RunTask request behind the live task.
Specs that differ in numbers only come to the same but for these, and are applied once a process.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import Any

from tests.simulation.faults import BROKEN, CALM
from tests.simulation.liveness import findable, unsettled
from tests.simulation.world import World

from fractal_models.container import Phase
from fractal_models.kube import ObjectKey
from fractal_operator.core.annotations import ADOPT
from fractal_operator.core.tokens import canonical

SETTLED_WITHIN = 300.0
RESYNCED = 650.0
COMPARED = ("phase", "conditions", "tasks", "endpoint", "message")
OWN = ("clientToken", "startedBy", "tags")
"""What a request says of the object and the attempt, not of the spec."""
PASSING = {
    "attempt",
    "arn",
    "ip",
    "privateIp",
    "lastTransitionTime",
    "observedGeneration",
    "since",
    "startedAt",
}
"""What two runs of one spec need not share."""
NUMBER = re.compile(r"\d+")


def unlike(world: World) -> str:
    """How a settled world differs from fresh ones ("": in nothing)."""
    for key, body in world.kube.objects.items():
        if key.name == BROKEN:
            continue
        if world.notes.status(body).phase not in (Phase.RUNNING, Phase.SUSPENDED):
            continue  # how often it had failed before is part of its path
        annotations = body["metadata"].get("annotations", {})
        wanted = {k: v for k, v in annotations.items() if k != ADOPT}
        ours = _shape(world, key)
        for name, value in _fresh(NUMBER.sub("1", canonical([body["spec"], wanted]))).items():
            if name in ours and ours[name] != value:
                return f"L7: {key}: {name} is {ours[name]}, after a fresh apply {value}"
        world.notes.sometimes["compared with a fresh apply"] += 1
    return ""


@lru_cache(maxsize=1000)
def _fresh(applied: str) -> Mapping[str, Any]:
    """What a spec and annotations come to in a world in which nothing else ever happened."""
    spec, annotations = json.loads(applied)
    world, key = World(Random(0), CALM), ObjectKey("default", "fc-0")
    world.boot()
    world.timeline.run(1.0)
    world.kube.create(key, spec, annotations=annotations)
    while unsettled(world) and world.timeline.now < SETTLED_WITHIN:
        world.timeline.run(world.timeline.now + 10)
    world.timeline.run(world.timeline.now + RESYNCED)
    return _shape(world, key)


def _shape(world: World, key: ObjectKey) -> Mapping[str, Any]:
    """What can be compared. Nobody sent a request for an adopted task."""
    body = world.kube.objects[key]
    shape = {name: _plain(body.get("status", {}).get(name)) for name in COMPARED}
    for arn in findable(world, body["metadata"]["uid"]):
        request = world.ecs.requests.get(arn)
        if request is not None:
            sent = {k: v for k, v in request.items() if k not in OWN}
            environment = sent["overrides"]["containerOverrides"][0]["environment"]
            given = {each["name"]: each["value"] for each in environment}
            asked = {each["name"]: each["value"] for each in body["spec"].get("environment", ())}
            shape["environment"] = sorted(given)
            shape["values"] = all(given[name] == value for name, value in asked.items())
            shape["request"] = _plain({**sent, "overrides": None})
    return shape


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {k: _plain(v) for k, v in value.items() if k not in PASSING}
        case list() | tuple():
            return [_plain(each) for each in value]
        case str():
            return NUMBER.sub("#", value)
        case _:
            return value
