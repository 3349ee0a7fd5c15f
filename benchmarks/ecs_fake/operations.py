"""The ECS operations, as functions from a request to the JSON text of the answer."""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from benchmarks.ecs_fake.asked import check_ids, fits, page, tags_of
from benchmarks.ecs_fake.cluster import PROVIDERS, Cluster
from benchmarks.ecs_fake.task import Task
from benchmarks.ecs_fake.world import ACCOUNT, World

from fractal_dev.ecs import rules
from fractal_dev.ecs.definitions import check_definition
from fractal_dev.ecs.errors import AwsError, client_error, invalid_parameter
from fractal_dev.ecs.faults import Faults
from fractal_dev.ecs.plan import Plans
from fractal_dev.ecs.tokens import Tokens

_PAGE = 100

Request = Mapping[str, Any]


class Operations:
    """What the fake knows of ECS."""

    def __init__(self, world: World, plans: Plans, faults: Faults) -> None:
        self._world, self._plans, self._faults = world, plans, faults
        self._tokens = Tokens()
        self._known: dict[str, Callable[[Request], str]] = {
            "RunTask": self._run_task,
            "StopTask": self._stop_task,
            "DescribeTasks": self._describe_tasks,
            "ListTasks": self._list_tasks,
            "RegisterTaskDefinition": self._register,
            "DeregisterTaskDefinition": self._deregister,
            "DescribeTaskDefinition": self._describe_definition,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
            "CreateCluster": self._create_cluster,
            "DeleteCluster": self._delete_cluster,
            "DescribeClusters": self._describe_clusters,
        }

    def call(self, operation: str, request: Request) -> str:
        """The answer's JSON text.

        Raises:
            AwsError: what ECS answers to a request that it refuses.
        """
        handler = self._known.get(operation)
        if handler is None:
            raise AwsError("UnsupportedFeatureException", f"The fake does not know {operation}.")
        self._world.settle()
        return handler(request)

    def subject(self, request: Request) -> str:
        """The startedBy that a request is about: its own, or its tasks'."""
        references = request.get("tasks") or [request.get("task", "")]
        tasks = [self._world.tasks.get(str(each).rsplit("/", 1)[-1]) for each in references]
        named = [task.started_by for task in tasks if task]
        return " ".join([str(request.get("startedBy", "")), *named]).strip()

    def _cluster(self, request: Request, *, active: bool = False) -> Cluster:
        return self._world.cluster(str(request.get("cluster", "default")), active=active)

    def _run_task(self, request: Request) -> str:
        rules.check_run_task(request)
        cluster = self._cluster(request, active=True)
        now = self._world.clock.now()
        key = (self._world.region, cluster.name, str(request.get("clientToken", "")))
        if key[2] and (answer := self._tokens.replay(key, request, now)) is not None:
            return json.dumps(answer)
        definition = self._world.definition(str(request["taskDefinition"]))
        if definition.status != "ACTIVE":
            raise client_error("TaskDefinition is inactive")
        launch = rules.resolve_launch(cluster, definition, request)
        network = request.get("networkConfiguration") or {}
        rules.check_network(definition, launch[0], network)
        check_ids(network.get("awsvpcConfiguration") or {})
        rules.check_overrides(definition, request.get("overrides") or {})
        if launch[0] != "FARGATE":
            raise invalid_parameter("No Container Instances were found in your cluster.")
        fault = self._faults.failures(str(request.get("startedBy", "")))
        failures = list((fault and fault.failures) or ())
        tasks: list[Task] = []
        if fault is None or fault.launch_anyway:
            for _ in range(request.get("count", 1)):
                plan = self._plans.choose(str(request.get("startedBy", "")))
                tags = tags_of(request, cluster, definition.request)
                tasks.append(self._world.create(cluster, definition, request, launch, plan, tags))
        shown = [] if fault else tasks
        if key[2]:
            self._tokens.bind(key, request, (cast("Any", shown), failures), now)
        return _joined("tasks", [task.text(tags=True) for task in shown], failures)

    def _stop_task(self, request: Request) -> str:
        cluster, reference = self._cluster(request), str(request.get("task", ""))
        rules.check_task_id(reference)
        task = self._world.find(cluster, reference)
        if task is None:
            raise invalid_parameter("The referenced task was not found.")
        task.tags.clear()
        task.changed()
        reason = str(request.get("reason") or "Task stopped by user")
        self._world.stop(task, "UserInitiated", reason)
        return f'{{"task":{task.text(tags=True)}}}'

    def _describe_tasks(self, request: Request) -> str:
        cluster = self._cluster(request)
        references = list(dict.fromkeys(map(str, request.get("tasks") or ())))
        if not references:
            raise invalid_parameter("Tasks cannot be empty.")
        if len(references) > _PAGE:
            raise invalid_parameter(f"Tasks cannot have more than {_PAGE} elements.")
        for reference in references:
            rules.check_task_id(reference)
        tags = "TAGS" in (request.get("include") or ())
        texts, failures = [], []
        for reference in references:
            if task := self._world.find(cluster, reference):
                texts.append(task.text(tags=tags))
            else:
                base = f"{cluster.arn.replace(':cluster/', ':task/')}/"
                arn = reference if reference.startswith("arn:") else base + reference
                failures.append({"arn": arn, "reason": "MISSING"})
        return _joined("tasks", texts, failures)

    def _list_tasks(self, request: Request) -> str:
        rules.check_list_tasks(request)
        cluster = self._cluster(request)
        size, after = int(request.get("maxResults", _PAGE)), page(request.get("nextToken"))
        if "startedBy" in request:
            of_name = self._world.started_by.get((cluster.name, str(request["startedBy"])), [])
            tasks = iter([task for task in of_name if task.seq > after])
        else:
            tasks = cluster.after(after)
        found: list[Task] = []
        more = False
        for task in tasks:
            if fits(task, request) and self._world.visible(task):
                if more := len(found) == size:
                    break
                found.append(task)
        answer: dict[str, Any] = {"taskArns": [task.arn for task in found]}
        if more:
            answer["nextToken"] = f"after-{found[-1].seq}"
        return json.dumps(answer)

    def _register(self, request: Request) -> str:
        check_definition(request)
        made = self._world.register(request)
        return json.dumps({"taskDefinition": made.json(), "tags": request.get("tags") or []})

    def _deregister(self, request: Request) -> str:
        found = self._world.definition(str(request["taskDefinition"]))
        found.status = "INACTIVE"
        return json.dumps({"taskDefinition": found.json()})

    def _describe_definition(self, request: Request) -> str:
        found = self._world.definition(str(request["taskDefinition"]))
        return json.dumps({"taskDefinition": found.json()})

    def _tag(self, request: Request) -> str:
        task = self._tagged(request)
        rules.check_tags(request["tags"])
        tags = {tag["key"]: tag for tag in (*task.tags, *request["tags"])}
        task.tags[:] = tags.values()
        task.changed()
        return "{}"

    def _untag(self, request: Request) -> str:
        task = self._tagged(request)
        task.tags[:] = [tag for tag in task.tags if tag["key"] not in request["tagKeys"]]
        task.changed()
        return "{}"

    def _list_tags(self, request: Request) -> str:
        return json.dumps({"tags": self._tagged(request).tags})

    def _tagged(self, request: Request) -> Task:
        task = self._world.tasks.get(str(request["resourceArn"]).rsplit("/", 1)[-1])
        if task is None or task.stopped or not self._world.visible(task):
            raise invalid_parameter("The specified resource cannot be tagged.")
        return task

    def _create_cluster(self, request: Request) -> str:
        made = self._world.ensure_cluster(str(request.get("clusterName", "default")))
        return json.dumps({"cluster": self._shown(made)})

    def _delete_cluster(self, request: Request) -> str:
        cluster = self._cluster(request)
        if any(not task.stopped for task in cluster.tasks):
            raise AwsError(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            )
        cluster.status = "INACTIVE"
        return json.dumps({"cluster": self._shown(cluster)})

    def _describe_clusters(self, request: Request) -> str:
        found, failures = [], []
        for reference in request.get("clusters") or ["default"]:
            try:
                found.append(self._shown(self._world.cluster(reference)))
            except AwsError:
                name = reference.rsplit("/", 1)[-1]
                arn = f"arn:aws:ecs:{self._world.region}:{ACCOUNT}:cluster/{name}"
                failures.append({"arn": arn, "reason": "MISSING"})
        return json.dumps({"clusters": found, "failures": failures})

    def _shown(self, cluster: Cluster) -> dict[str, Any]:
        states = [task.last_status for task in cluster.tasks]
        return {
            "clusterArn": cluster.arn,
            "clusterName": cluster.name,
            "status": cluster.status,
            "capacityProviders": list(PROVIDERS),
            "runningTasksCount": states.count("RUNNING"),
            "pendingTasksCount": sum(
                states.count(each) for each in ("PROVISIONING", "PENDING", "ACTIVATING")
            ),
        }


def _joined(name: str, texts: list[str], failures: list[Any]) -> str:
    return f'{{"{name}":[{",".join(texts)}],"failures":{json.dumps(failures)}}}'
