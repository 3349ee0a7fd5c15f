"""What a test of the whole needs: the operator as a process, and a world of its own to run it in.

A world is a namespace, an installation id, an ECS cluster and a database. Worlds share the servers
of their worker and see nothing of each other. Nothing here asks the operator how many tasks there
are: tasks are counted at ECS, writes on their way to the API server.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import boto3
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from sqlalchemy import Engine, text
from tests.e2e.api import DEADLINE, Api
from tests.e2e.proxy import Proxy, Request

from fractal_dev.ecs.client import EcsControl
from fractal_dev.postgres import Postgres
from fractal_helpers import migrate
from fractal_helpers.sql import create_engine
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION

REGION = "us-east-1"
AWS = {
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret-0",
    "AWS_EC2_METADATA_DISABLED": "true",
}
OPERATOR = [sys.executable, "-m", "fractal_operator", "run"]
Found = TypeVar("Found")
Obj = dict[str, Any]


def until(look: Callable[[], Found | None], what: str, seconds: float = DEADLINE) -> Found:
    """The first result that is true; fails after ``seconds`` without one."""
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def until_is(look: Callable[[], object], wanted: object, seconds: float = DEADLINE) -> None:
    """Wait until that is what is seen; fails with what was seen last."""
    end = time.monotonic() + seconds
    while (found := look()) != wanted:
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {wanted!r}; it is {found!r}")
        time.sleep(0.05)


def container(**changes: Any) -> Obj:
    """A spec that runs on Fargate; ``changes`` replace its fields, ``None`` removes one."""
    template = {
        "image": "registry.example.com/app:1",
        "cpuUnits": 256,
        "memoryMiB": 512,
        "requiresCompatibilities": ["FARGATE"],
        "ports": [{"name": "http", "containerPort": 8080}],
    }
    spec: Obj = {"user": "ada@example.org", "template": template} | changes
    return {name: value for name, value in spec.items() if value is not None}


@dataclass
class Operator:
    """The operator as a process; it may be started again after its end."""

    environ: Mapping[str, str]
    logfile: Path
    command: Sequence[str] = tuple(OPERATOR)
    _process: subprocess.Popen[bytes] | None = None
    _began: int = 0

    def start(self) -> Self:
        began = self.logfile.stat().st_size if self.logfile.exists() else 0
        with self.logfile.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=dict(self.environ),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._began = began  # last: another thread may look for its port
        return self

    def wait_ready(self, seconds: float = DEADLINE) -> Self:
        told = f"the operator is ready\n{self.log()[-3000:]}"
        until(lambda: self.get("/readyz")[0] == 200, told, seconds)
        return self

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(DEADLINE)

    @property
    def ended(self) -> int | None:
        """The exit code; None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def log(self) -> str:
        """What this start has logged so far."""
        return self.logfile.read_bytes()[self._began :].decode()

    def port(self) -> int | None:
        """Where it says that it serves its probes."""
        for line in self.log().splitlines(keepends=True):
            if "serving /metrics" in line and line.endswith("\n"):
                return int(json.loads(line)["message"].rpartition(" ")[2])
        assert self.ended is None, self.log()
        return None

    def get(self, path: str) -> tuple[int, str]:
        """GET from its probes: status and body; (0, "") while nobody answers."""
        port = self.port()
        if port is None:
            return 0, ""
        try:
            return _answer(f"http://127.0.0.1:{port}{path}")
        except (OSError, http.client.HTTPException):  # it may end in the middle of an answer
            return 0, ""


def _answer(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@dataclass
class World:
    """See the module. ``operator`` is started by ``start``; more of them by ``another``."""

    api: Api
    proxy: Proxy
    ecs: EcsControl
    ecs_url: str
    engine: Engine
    database_url: str
    namespace: str
    name: str
    folder: Path
    objects: client.CustomObjectsApi
    settings: dict[str, str] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    surging: set[str] = field(default_factory=set)  # uids that may have two tasks

    def __post_init__(self) -> None:
        self.cluster_arn = self.ecs.ensure_cluster(self.name, REGION)
        self.aws_ecs = self.boto("ecs")
        described = self.boto("ec2").describe_subnets()["Subnets"]
        self.subnets = sorted(str(each["SubnetId"]) for each in described)

    def boto(self, service: str) -> Any:
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.ecs_url,
            region_name=REGION,
            aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        )

    # --- the operator ---

    def environ(self, **changes: str) -> dict[str, str]:
        """The environment of an operator of this world; ``changes`` name settings, lower case."""
        kubeconfig = self.proxy.kubeconfig(self.folder / "kubeconfig")
        settings = {
            "FRACTAL_NAMESPACES": self.namespace,
            "FRACTAL_INSTALL_ID": self.name,
            # Without it a test that kills its operator need not wait for a lease to run out.
            "FRACTAL_LEADER_ELECTION": "false",
            "FRACTAL_RELEASE_NAMESPACE": self.namespace,
            "FRACTAL_CLUSTER": self.name,
            "FRACTAL_SUBNETS": self.subnets[0],
            "FRACTAL_DATABASE_URL": self.database_url,
            "FRACTAL_METRICS_HOST": "127.0.0.1",
            "FRACTAL_METRICS_PORT": "0",
            "FRACTAL_SWEEP_SECONDS": "5",
            "FRACTAL_FAST_SWEEP_SECONDS": "1",
        }
        trap = {
            "HOME": str(self.proxy.trap_home(self.folder / "home")),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.proxy.trap_port),
        }
        given = {f"FRACTAL_{name.upper()}": value for name, value in changes.items()}
        servers = {"KUBECONFIG": str(kubeconfig), "AWS_ENDPOINT_URL": self.ecs_url}
        ours = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        return {**ours, **AWS, **servers, **trap, **settings, **given}

    def start(
        self, *, ready: bool = True, command: Sequence[str] = tuple(OPERATOR), **changes: str
    ) -> Operator:
        """An operator of this world, running."""
        logfile = self.folder / f"operator-{len(self.operators)}.log"
        made = Operator(self.environ(**changes), logfile, command)
        self.operators.append(made)
        made.start()
        return made.wait_ready() if ready else made

    # --- Kubernetes ---

    def kubectl(self, *arguments: str, stdin: str = "", ok: bool = True) -> str:
        """kubectl in this namespace: its output; fails unless it succeeds, or ``ok`` is False."""
        done = self.api.kubectl("-n", self.namespace, *arguments, stdin=stdin)
        assert (done.returncode == 0) is ok, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout if ok else done.stderr

    def apply(self, name: str, spec: Obj | None = None, *, ok: bool = True) -> str:
        """kubectl apply -f -."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": container() if spec is None else spec,
        }
        return self.kubectl("apply", "-f", "-", stdin=json.dumps(body), ok=ok)

    def wait_ready(self, *names: str) -> None:
        """kubectl wait --for=condition=Ready."""
        every = [f"fc/{name}" for name in names]
        self.kubectl("wait", "--for=condition=Ready", f"--timeout={DEADLINE:.0f}s", *every)

    def create(self, name: str, spec: Obj | None = None) -> Obj:
        """Create by the API, without kubectl's start-up time; the object as created."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name},
            "spec": container() if spec is None else spec,
        }
        made: Any = self.objects.create_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            body,
            _headers={"Content-Type": "application/json"},
        )
        return dict(made)

    def patch(self, name: str, **body: Any) -> Obj:
        """A merge patch of the object: ``spec=`` or ``metadata=``."""
        done: Any = self.objects.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            name,
            body,
            _headers={"Content-Type": "application/merge-patch+json"},
        )
        return dict(done)

    def get(self, name: str) -> Obj | None:
        """The object, or None."""
        try:
            found: Any = self.objects.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return dict(found)

    def status(self, name: str) -> Obj:
        """The object's status, {} before there is one."""
        found = self.get(name)
        return dict((found or {}).get("status") or {})

    def condition(self, name: str, kind: str) -> Obj:
        """One condition, {} before there is one."""
        conditions = self.status(name).get("conditions") or ()
        return next((each for each in conditions if each["type"] == kind), {})

    def until_condition(self, name: str, kind: str, status: str, reason: str = "") -> Obj:
        """Wait for a condition, and return it."""

        def there() -> Obj | None:
            found = self.condition(name, kind)
            fits = found.get("status") == status and reason in ("", found.get("reason"))
            return found if fits else None

        try:
            return until(there, "")
        except AssertionError:
            seen = json.dumps(self.status(name), indent=1)
            raise AssertionError(f"{name}: not {kind}={status} {reason}: {seen}") from None

    def until_phase(self, name: str, phase: str) -> Obj:
        """Wait for a phase, and return the status."""

        def there() -> Obj | None:
            status = self.status(name)
            return status if status.get("phase") == phase else None

        return until(there, f"{name} is {phase}")

    def statuses(self, name: str) -> list[Obj]:
        """The changes that operators have made to an object's status, oldest first; a null removes.
        Some of it is shown for a moment only, as how an attempt ended is until the next begins."""
        path = f"/namespaces/{self.namespace}/{PLURAL}/{name}/status"
        writes = [each for each in self.writes() if each.path.partition("?")[0].endswith(path)]
        return [json.loads(each.body)["status"] for each in writes]

    def until_told(self, name: str, *parts: str) -> None:
        """Wait until a message of the status says all of that, or has said so."""

        def said() -> bool:
            told = (str(each.get("message")) for each in self.statuses(name))
            return any(all(part in text for part in parts) for text in told)

        until(said, f"{name} tells {parts}")

    def ask_again(self, name: str) -> None:
        """Ask for another look at an object at once; it may be gone by itself."""
        asked = ("annotate", "fc", name, "fractal.co/reconcile-requested-at=now")
        done = self.api.kubectl("-n", self.namespace, *asked)
        assert done.returncode == 0 or "NotFound" in done.stderr, done.stderr

    def until_gone(self, *names: str) -> None:
        """Wait until the objects are gone from the API."""
        until(lambda: not any(self.get(name) for name in names), f"{names} are gone")

    def writes(self, *, since: int = 0, events: bool = False) -> list[Request]:
        """What operators of this namespace wrote but for Leases, from request ``since`` on."""
        path = f"/namespaces/{self.namespace}/"
        return [
            each
            for each in self.proxy.requests[since:]
            if each.written
            and path in each.path
            and ("/events" in each.path) is events
            and f"{path}leases" not in each.path
        ]

    def mark(self) -> int:
        """The number of the next request, for ``since``."""
        return len(self.proxy.requests)

    # --- ECS ---

    def tasks(self, uid: str = "", *, live: bool | None = None) -> list[Obj]:
        """The tasks there ever were of this installation, or of one object, oldest first."""
        prefix = f"fc/{self.name}/" + (f"{uid}/" if uid else "")
        return self.ecs.tasks(prefix, live=live)

    def uid(self, name: str) -> str:
        found = self.get(name)
        assert found is not None
        return str(found["metadata"]["uid"])

    def events(self, **options: Any) -> str:
        """A rule and a queue of this world's task events, or its change; the queue's URL."""
        return self.ecs.put_rule(self.name, self.name, REGION, prefix=f"fc/{self.name}/", **options)

    def register(self, family: str) -> str:
        """A task definition for Fargate, registered by a stranger; its ARN."""
        answer = self.aws_ecs.register_task_definition(
            family=family,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[{"name": "main", "image": "app:1", "essential": True}],
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    def run_foreign_task(self, started_by: str = "somebody-else") -> str:
        """A task that is not the operator's; its ARN."""
        answer = self.aws_ecs.run_task(
            cluster=self.name,
            taskDefinition=self.register(f"foreign-{self.name}"),
            launchType="FARGATE",
            startedBy=started_by,
            networkConfiguration={"awsvpcConfiguration": {"subnets": self.subnets[:1]}},
        )
        return str(answer["tasks"][0]["taskArn"])

    def task(self, arn: str) -> Obj:
        return next(each for each in self.ecs.tasks() if each["taskArn"] == arn)

    def sweeps(self, count: int) -> None:
        """Wait until this many more sweeps have listed tasks. One operator, one cluster."""
        listed = self.ecs.calls().get("ListTasks", 0)
        until(
            lambda: self.ecs.calls().get("ListTasks", 0) >= listed + count,
            f"{count} sweeps",
            DEADLINE + 5 * count,
        )

    # --- Postgres ---

    def rows(self, query: str, **values: Any) -> list[Obj]:
        """The rows of a query, as dictionaries."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]

    def containers(self, uid: str) -> list[Obj]:
        """hardware.user_containers of one object, by attempt."""
        where = "WHERE uid = :uid ORDER BY attempt"
        return self.rows(f"SELECT * FROM hardware.user_containers {where}", uid=uid)

    def app_state(self, uid: str) -> Obj:
        """hardware.user_app_state of one object, {} before there is a row."""
        rows = self.rows("SELECT * FROM hardware.user_app_state WHERE task_id = :uid", uid=uid)
        return rows[0] if rows else {}

    def history(self, uid: str) -> list[str]:
        """The reasons in logs.container_history of one object, in order."""
        where = "WHERE uid = :uid ORDER BY at"
        rows = self.rows(f"SELECT reason FROM logs.container_history {where}", uid=uid)
        return [str(row["reason"]) for row in rows]

    def tear_down(self) -> None:
        """Remove the objects, which nobody would release any more."""
        where = (GROUP, VERSION, self.namespace, PLURAL)
        listed: Any = self.objects.list_namespaced_custom_object(*where)
        for item in listed["items"]:
            name = item["metadata"]["name"]
            try:
                self.patch(name, metadata={"finalizers": None})
                self.objects.delete_namespaced_custom_object(*where, name)
            except ApiException as error:
                if error.status != 404:
                    raise

    # --- what must always hold ---

    def check(self) -> None:
        """The promises that no test may break, whatever it does."""
        tasks = self.tasks()
        assert_one_at_a_time(
            each for each in tasks if each["startedBy"].split("/")[2] not in self.surging
        )
        assert self.proxy.strangers == []
        for operator in self.operators:
            log = operator.logfile.read_text()
            assert "Traceback" not in log
            assert "failed unexpectedly" not in log
            assert "did not come to rest" not in log
            assert AWS["AWS_SECRET_ACCESS_KEY"] not in log


@dataclass(frozen=True)
class Servers:
    """What worlds share."""

    api: Api
    way: Proxy
    ecs_url: str
    postgres: Postgres


@contextmanager
def new_namespace(api: Api) -> Iterator[str]:
    """A namespace, deleted at the end."""
    name = f"e2e-{uuid4().hex[:10]}"
    # from a manifest: `create namespace` speaks protobuf, which the stand-in does not
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    made = api.kubectl("create", "-f", "-", stdin=json.dumps(body))
    assert made.returncode == 0, made.stderr
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def new_world(servers: Servers, folder: Path) -> Iterator[World]:
    """A world; at its end what must always hold is checked."""
    name = f"w-{uuid4().hex[:10]}"
    url = servers.postgres.create_database(name.replace("-", "_"))
    migrate.upgrade(url)
    engine = create_engine(url)
    with new_namespace(servers.api) as namespace, servers.api.client() as connection:
        world = World(
            api=servers.api,
            proxy=servers.way,
            ecs=EcsControl(servers.ecs_url, timeout=60),
            ecs_url=servers.ecs_url,
            engine=engine,
            database_url=url,
            namespace=namespace,
            name=name,
            folder=folder,
            objects=client.CustomObjectsApi(connection),
        )
        yield world
        for operator in world.operators:
            operator.kill()
            print(f"--- {operator.logfile}\n{operator.logfile.read_text()[-5_000:]}")
        servers.way.broken, servers.way.hand = "", None  # whatever a test has left of its own
        world.ecs.reset()
        world.ecs.delete_rule(world.name)
        world.tear_down()
    engine.dispose()
    world.check()


def assert_one_at_a_time(tasks: Iterable[Obj]) -> None:
    """By ECS's own times: each object had at most one live task at any moment."""
    by_uid: dict[str, list[Obj]] = {}
    for task in tasks:
        by_uid.setdefault(task["startedBy"].split("/")[2], []).append(task)
    for ones in by_uid.values():
        ones.sort(key=lambda each: float(each["createdAt"]))
        for before, after in pairwise(ones):
            assert not before["live"], (before, after)
            assert before["stoppedAt"] <= after["createdAt"], (before, after)
