"""The ECS operations that the stand-in answers itself: everything about tasks."""

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dev.ecs import listing, rules
from fractal_dev.ecs.account import Account
from fractal_dev.ecs.definitions import check_definition
from fractal_dev.ecs.engine import TaskEngine
from fractal_dev.ecs.errors import AwsError, invalid_parameter
from fractal_dev.ecs.faults import Faults
from fractal_dev.ecs.plan import Plans
from fractal_dev.ecs.task import Placement, Task
from fractal_dev.ecs.tokens import Tokens

Request = Mapping[str, Any]
Answer = dict[str, Any]


class TaskApi:
    """ECS operations as functions of (region, request). Hold the engine's lock around each."""

    def __init__(self, engine: TaskEngine, plans: Plans, faults: Faults) -> None:
        self._engine = engine
        self._account: Account = engine.account
        self._plans = plans
        self._faults = faults
        self._tokens = Tokens()
        self._operations: dict[str, Callable[[str, Request], Answer | None]] = {
            "RunTask": self._run_task,
            "StopTask": self._stop_task,
            "DescribeTasks": self._describe_tasks,
            "ListTasks": self._list_tasks,
            "StartTask": self._start_task,
            "TagResource": self._tag_resource,
            "UntagResource": self._untag_resource,
            "ListTagsForResource": self._list_tags,
            "RegisterTaskDefinition": self._register,
            "CreateCluster": self._create_cluster,
            "DeleteCluster": self._delete_cluster,
            "DescribeClusters": self._describe_clusters,
        }

    def call(self, operation: str, region: str, request: Request) -> Answer | None:
        """Return the operation's answer, or None if moto is to answer.

        Raises:
            AwsError: what ECS answers to a request that it refuses.
        """
        handler = self._operations.get(operation)
        if handler is None:
            return None
        self._engine.settle()
        return handler(region, request)

    def subject(self, request: Request) -> str:
        """Return the startedBy that a request is about: its own, or its tasks'."""
        references = request.get("tasks") or [request.get("task", "")]
        tasks = [self._engine.find(str(each).rsplit("/", 1)[-1]) for each in references]
        named = [task.started_by for task in tasks if task]
        return " ".join([str(request.get("startedBy", "")), *named]).strip()

    def _run_task(self, region: str, request: Request) -> Answer:
        rules.check_run_task(request)
        cluster = self._account.active_cluster(region, request.get("cluster", "default"))
        now = self._engine.clock.now()
        key = (region, cluster.name, request.get("clientToken", ""))
        if key[2] and (answer := self._tokens.replay(key, request, now)) is not None:
            return answer
        definition = self._account.definition(region, request["taskDefinition"])
        launch_type, provider = rules.resolve_launch(cluster, definition, request)
        network = request.get("networkConfiguration") or {}
        rules.check_network(definition, launch_type, network)
        self._account.check_network(region, network.get("awsvpcConfiguration") or {})
        rules.check_overrides(definition, request.get("overrides") or {})
        fault = self._faults.failures(str(request.get("startedBy", "")))
        tasks: list[Task] = []
        failures: list[Mapping[str, Any]] = list((fault and fault.failures) or ())
        if fault is None or fault.launch_anyway:
            tasks, placing = self._launch(
                region, cluster, definition, request, launch_type, provider
            )
            failures += placing
        shown = [] if fault else tasks
        if key[2]:
            self._tokens.bind(key, request, (shown, failures), now)
        return {"tasks": [task.json(tags=True) for task in shown], "failures": failures}

    def _launch(
        self,
        region: str,
        cluster: Any,
        definition: Any,
        request: Request,
        launch_type: str,
        provider: str,
    ) -> tuple[list[Task], list[dict[str, str]]]:
        tasks: list[Task] = []
        for _ in range(request.get("count", 1)):
            placement = Placement(launch_type, provider)
            if launch_type == "EC2" and not provider:
                instance, needs, failures = self._account.place(region, cluster.name, definition)
                if instance is None and not failures:
                    raise invalid_parameter("No Container Instances were found in your cluster.")
                if instance is None:
                    return tasks, failures
                placement = Placement(launch_type, provider, instance, needs)
            plan = self._plans.choose(str(request.get("startedBy", "")))
            task = self._engine.create(region, cluster, definition, request, plan, placement)
            tasks.append(task)
        return tasks, []

    def _start_task(self, region: str, request: Request) -> Answer:
        raise AwsError("UnsupportedFeatureException", "The stand-in does not know StartTask.")

    def _stop_task(self, region: str, request: Request) -> Answer:
        cluster = self._account.cluster(region, request.get("cluster", "default"))
        rules.check_task_id(str(request.get("task", "")))
        task = self._visible(region, cluster.name, str(request.get("task", "")))
        if task is None:
            raise invalid_parameter("The referenced task was not found.")
        task.tags.clear()
        reason = str(request.get("reason") or "Task stopped by user")
        self._engine.stop(task, "UserInitiated", reason)
        return {"task": task.json(tags=True)}

    def _describe_tasks(self, region: str, request: Request) -> Answer:
        cluster = self._account.cluster(region, request.get("cluster", "default"))
        references = list(map(str, request.get("tasks") or ()))
        if not references:
            raise invalid_parameter("Tasks cannot be empty.")
        if len(references) > 100:
            raise invalid_parameter("Tasks cannot have more than 100 elements.")
        for reference in references:
            rules.check_task_id(reference)
        tags = "TAGS" in (request.get("include") or ())
        tasks, failures = [], []
        for reference in dict.fromkeys(references):
            if task := self._visible(region, cluster.name, reference):
                tasks.append(task.json(tags=tags))
            else:
                base = f"arn:aws:ecs:{region}:{self._account.id}:task/{cluster.name}"
                arn = reference if reference.startswith("arn:") else f"{base}/{reference}"
                failures.append({"arn": arn, "reason": "MISSING"})
        return {"tasks": tasks, "failures": failures}

    def _list_tasks(self, region: str, request: Request) -> Answer:
        rules.check_list_tasks(request)
        cluster = self._account.cluster(region, request.get("cluster", "default"))
        after = listing.decode_page(request.get("nextToken"))
        found = [
            task
            for task in self._engine.in_cluster(region, cluster.name, request.get("startedBy"))
            if task.seq > after and listing.fits(task, request)
        ]
        page = found[: request.get("maxResults", 100)]
        answer: Answer = {"taskArns": [task.arn for task in page]}
        if len(found) > len(page):
            answer["nextToken"] = listing.encode_page(page[-1].seq)
        return answer

    def _visible(self, region: str, cluster_name: str, reference: str) -> Task | None:
        task = self._engine.find(reference.rsplit("/", 1)[-1])
        if task is None or (task.region, task.cluster_name) != (region, cluster_name):
            return None
        if "/" in reference and reference != task.arn:
            return None
        return task if self._engine.visible(task) else None

    def _tagged_task(self, request: Request) -> Task | None:
        arn = str(request.get("resourceArn", ""))
        if ":task/" not in arn:
            return None
        task = self._engine.find(arn.rsplit("/", 1)[-1])
        if task is None or task.arn != arn or not self._engine.visible(task):
            raise invalid_parameter("The specified task was not found.")
        return task

    def _tag_resource(self, region: str, request: Request) -> Answer | None:
        rules.check_tags(request.get("tags") or [])
        if (task := self._tagged_task(request)) is None:
            return None
        if task.stopped:
            raise invalid_parameter("The specified task is stopped.")
        merged = {tag["key"]: tag for tag in [*task.tags, *request["tags"]]}
        rules.check_tags(list(merged.values()))
        task.tags = list(merged.values())
        return {}

    def _untag_resource(self, region: str, request: Request) -> Answer | None:
        if (task := self._tagged_task(request)) is None:
            return None
        task.tags = [tag for tag in task.tags if tag["key"] not in request["tagKeys"]]
        return {}

    def _list_tags(self, region: str, request: Request) -> Answer | None:
        task = self._tagged_task(request)
        return None if task is None else {"tags": list(task.tags)}

    def _register(self, region: str, request: Request) -> None:
        check_definition(request)

    def _create_cluster(self, region: str, request: Request) -> Answer | None:
        """Show a cluster that is there already; moto would put an empty one in its place."""
        cluster = self._account.ecs(region).clusters.get(request.get("clusterName", "default"))
        if cluster is None or cluster.status != "ACTIVE":
            return None
        shown = {"clusterArn": cluster.arn, "clusterName": cluster.name, "status": "ACTIVE"}
        return {"cluster": {**shown, "capacityProviders": cluster.capacity_providers or []}}

    def _delete_cluster(self, region: str, request: Request) -> None:
        cluster = self._account.cluster(region, request["cluster"])
        tasks = self._engine.in_cluster(region, cluster.name, None)
        if any(not task.stopped for task in tasks):
            raise AwsError(
                "ClusterContainsTasksException",
                "The Cluster cannot be deleted while Tasks are active.",
            )

    def _describe_clusters(self, region: str, request: Request) -> None:
        """Bring the counts that moto is about to show up to date."""
        clusters = self._account.ecs(region).clusters
        names = {str(each).rsplit("/", 1)[-1] for each in request.get("clusters") or ["default"]}
        for cluster in (clusters[name] for name in names & set(clusters)):
            tasks = list(self._engine.in_cluster(region, cluster.name, None))
            running = sum(task.last_status == "RUNNING" for task in tasks)
            pending = sum("startedAt" not in t.times and not t.stopped for t in tasks)
            cluster.running_tasks_count, cluster.pending_tasks_count = running, pending
