"""Where objects lead that the allow-list refuses: nowhere, unless a task of theirs may be there."""

from dataclasses import replace
from typing import Any

from tests.unit.shell.ecs_world import ACCOUNT, MAIN, OTHER, REGION, WEB
from tests.unit.shell.process import KEY, POLICY, Process, World, running, until
from tests.unit.shell.wire import run

from fractal_models.kube import ObjectKey
from fractal_operator.core import tokens
from fractal_operator.core.allow import Allow, Rule
from fractal_operator.core.annotations import ADOPT
from fractal_operator.shell.objects import Known

SPEC = {"taskDefinition": "web"}
RULE = Rule(namespaces=("*",), images=("*",))
STRICT = replace(POLICY, allow=Allow((RULE,)))
WIDE = replace(POLICY, allow=Allow((replace(RULE, regions=("*",), clusters=("*",)),)))
FORGED = f"arn:aws:ecs:aa-north-9:{ACCOUNT}:cluster/main"


def known(process: Process) -> set[tuple[str, str]]:
    return {(each.region, each.reference) for each in process.clusters.all()}


def named(process: Process, key: ObjectKey = KEY) -> set[tuple[str, str]]:
    return set(process.reconciler.clusters(Known.of(process.world.kube.objects[key])))


def stalled(world: World, key: ObjectKey) -> tuple[str, str]:
    (each,) = (each for each in world.status(key).conditions if each.type == "Stalled")
    return each.reason, each.message


def test_refused_objects_open_no_regions_and_no_clusters() -> None:
    world = World()
    keys = [ObjectKey("default", f"bogus-{number}") for number in range(40)]
    for number, key in enumerate(keys):
        made_up = {"region": f"aa-north-{number}"} if number % 2 else {"cluster": f"c-{number}"}
        world.kube.create(key, {**SPEC, **made_up})
    process = Process(world, policy=STRICT)
    run(process.start())
    run(process.settle())
    assert known(process) == {(REGION, "main")}
    assert [named(process, key) for key in keys] == [set()] * 40
    assert stalled(world, keys[1])[0] == "NotAllowed"
    assert stalled(world, keys[1])[1].startswith("spec.region: aa-north-1 is not allowed in ")
    for key in keys:
        world.kube.delete(key)
    until(process, lambda it: not it.kube.objects)
    assert known(process) == {(REGION, "main")}


def test_a_list_that_was_narrowed_after_the_launch_forgets_no_task() -> None:
    world = World()
    before = Process(world, policy=WIDE)
    run(before.start())
    world.kube.create(KEY, {**SPEC, "cluster": "other"})
    until(before, running)
    after = Process(world, policy=STRICT)
    run(after.start())
    run(after.settle())
    assert (REGION, OTHER) in named(after)
    world.kube.edit(KEY, cluster="c-1")
    run(after.settle())
    assert named(after) == {(REGION, OTHER)}, "the task's cluster, not the one that is refused"
    world.kube.delete(KEY)
    until(after, lambda it: not it.kube.objects)
    assert world.ecs.live() == []


def test_a_status_that_was_wiped_before_the_list_was_narrowed_forgets_no_task() -> None:
    world = World()
    before = Process(world, policy=WIDE)
    run(before.start())
    world.kube.create(KEY, {**SPEC, "cluster": "other"})
    until(before, running)
    world.kube.objects[KEY].pop("status")
    after = Process(world, policy=STRICT)
    run(after.start())
    run(after.settle())
    assert named(after) == set()
    world.kube.delete(KEY)
    until(after, lambda it: not it.kube.objects)
    assert world.ecs.live() == []


def test_a_forged_attempt_is_looked_at_and_a_malformed_one_is_not() -> None:
    world = World()
    process = Process(world, policy=STRICT)
    body = world.kube.create(KEY, SPEC)
    attempt: dict[str, Any] = {"number": 1, "clusterArn": FORGED, "definitionArn": WEB}
    body["status"] = {"attempt": attempt}
    assert set(process.reconciler.clusters(Known.of(body))) == {
        ("aa-north-9", FORGED),
        (REGION, "main"),
    }
    body["status"] = {"attempt": {**attempt, "clusterArn": "arn:aws:ecs:../evil:1:cluster/main"}}
    assert process.reconciler.clusters(Known.of(body)) == [(REGION, "main")]


def test_a_cluster_that_is_not_listed_is_looked_at_for_a_task_that_may_be_adopted() -> None:
    world = World()
    prefix = tokens.task_prefix(OTHER)
    rule = replace(RULE, adoptable=(prefix + "*",))
    arn = world.ecs.put("theirs", "deploy-tool", OTHER, last_status="RUNNING", definition_arn=WEB)
    process = Process(world, policy=replace(POLICY, allow=Allow((rule,))))
    run(process.start())
    world.kube.create(KEY, {**SPEC, "cluster": "other"}, annotations={ADOPT: arn})
    bogus = [
        ({**SPEC, "cluster": "c-1"}, arn),
        ({**SPEC, "cluster": "other", "region": "aa-north-1"}, arn),
        ({**SPEC, "cluster": "c-1"}, tokens.task_prefix(MAIN) + "1"),
        ({**SPEC, "cluster": "c-1"}, "nonsense"),
    ]
    for number, (spec, wish) in enumerate(bogus):
        key = ObjectKey("default", f"bogus-{number}")
        world.kube.create(key, spec, annotations={ADOPT: wish})
        assert named(process, key) == set()
    until(process, lambda it: [each.arn for each in it.status().tasks] == [arn])
    assert {region for region, _ in known(process)} == {REGION}
    assert world.ecs.launches == []
