"""KubeClient against a Kubernetes API: the stand-in, or the server that E2E_KUBECONFIG names."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import (
    ApiClient,
    ApiextensionsV1Api,
    Configuration,
    CoreV1Api,
    CustomObjectsApi,
)
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.models import V1CustomResourceDefinition

from fractal_dev.kube import KubeApi
from fractal_helpers.kube import KubeClient
from fractal_models import crd
from fractal_models.errors import Conflict, Gone, OutcomeUnknown, Rejected, Unavailable
from fractal_models.kube import API_VERSION, GROUP, KIND, PLURAL, VERSION, KubeEvent, ObjectKey

FINALIZER = "fractal.co/ecs-task"


@dataclass
class World:
    """A namespace of its own, the client under test, and an administrator beside it."""

    namespace: str
    kube: KubeClient
    admin: Any  # CustomObjectsApi and CoreV1Api, untyped: their answers are optional throughout
    core: Any
    kubeconfig: str
    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def key(self, name: str) -> ObjectKey:
        return ObjectKey(self.namespace, name)

    async def create(self, name: str) -> dict[str, Any]:
        made: Any = await self.admin.create_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "metadata": {"name": name},
                "spec": {"taskDefinition": "web:1"},
            },
        )
        return dict(made)

    async def label(self, name: str, **labels: str) -> None:
        await self.admin.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            self.namespace,
            PLURAL,
            name,
            {"metadata": {"labels": labels}},
            _content_type="application/merge-patch+json",
        )

    async def delete(self, name: str) -> None:
        await self.admin.delete_namespaced_custom_object(
            GROUP, VERSION, self.namespace, PLURAL, name
        )

    async def read(self, name: str) -> dict[str, Any]:
        return dict(
            await self.admin.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name
            )
        )


@asynccontextmanager
async def server(tmp_path: Path) -> AsyncIterator[str]:
    if given := os.environ.get("E2E_KUBECONFIG"):
        yield given
        return
    api = KubeApi()
    await api.start("127.0.0.1", 0)
    api.write_kubeconfig(tmp_path / "kubeconfig")
    try:
        yield str(tmp_path / "kubeconfig")
    finally:
        await api.stop()


async def install_crd(api: ApiClient, admin: CustomObjectsApi) -> None:
    definitions = ApiextensionsV1Api(api)
    try:
        await definitions.create_custom_resource_definition(
            V1CustomResourceDefinition.model_validate(crd.strip_cel(crd.crd()))
        )
    except ApiException as error:
        if error.status != 409:
            raise
    async with asyncio.timeout(20):
        while True:
            try:
                await admin.list_cluster_custom_object(GROUP, VERSION, PLURAL)
            except ApiException:
                await asyncio.sleep(0.05)
            else:
                return


@asynccontextmanager
async def a_world(tmp_path: Path) -> AsyncIterator[World]:
    async with server(tmp_path) as kubeconfig:
        configuration = Configuration()
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=kubeconfig, client_configuration=configuration
        )
        async with ApiClient(configuration) as api:
            core, admin = cast(Any, CoreV1Api(api)), CustomObjectsApi(api)
            await install_crd(api, admin)
            namespace = f"kube-client-{uuid4().hex[:8]}"
            await core.create_namespace({"metadata": {"name": namespace}})
            requests: Counter[tuple[str, str, str]] = Counter()

            def observe(verb: str, resource: str, code: str) -> None:
                requests[verb, resource, code] += 1

            kube = await KubeClient.connect(
                kubeconfig=kubeconfig, namespaces=[namespace], observe=observe
            )
            try:
                yield World(namespace, kube, admin, core, kubeconfig, requests)
            finally:
                await kube.close()
                await core.delete_namespace(namespace)


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    def start(scenario: Callable[[World], Awaitable[None]]) -> None:
        async def main() -> None:
            async with a_world(tmp_path) as world:
                await scenario(world)

        asyncio.run(main())

    return start


Run = Callable[[Callable[[World], Awaitable[None]]], None]


def test_a_missing_object_is_none(run: Run) -> None:
    async def scenario(world: World) -> None:
        assert await world.kube.get(world.key("absent")) is None

    run(scenario)


def test_status_is_replaced_whole(run: Run) -> None:
    async def scenario(world: World) -> None:
        body = await world.create("one")
        first = await world.kube.write_status(
            body, {"phase": "Pending", "message": "m", "attempt": {"number": 1, "rung": 0}}
        )
        second = await world.kube.write_status(
            first, {"phase": "Running", "attempt": {"number": 2}}
        )
        stored = await world.read("one")
        assert stored["status"] == {"phase": "Running", "attempt": {"number": 2}}
        assert second["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"]

    run(scenario)


def test_an_unchanged_status_sends_nothing(run: Run) -> None:
    async def scenario(world: World) -> None:
        body = await world.kube.write_status(await world.create("one"), {"phase": "Pending"})
        before = world.requests.total()
        assert await world.kube.write_status(body, {"phase": "Pending"}) == body
        assert world.requests.total() == before

    run(scenario)


def test_a_stale_body_is_a_conflict_and_changes_nothing(run: Run) -> None:
    async def scenario(world: World) -> None:
        stale = await world.create("one")
        await world.kube.write_status(stale, {"phase": "Pending"})
        with pytest.raises(Conflict):
            await world.kube.write_status(stale, {"phase": "Failed"})
        with pytest.raises(Conflict):
            await world.kube.set_finalizers(stale, [FINALIZER])
        stored = await world.read("one")
        assert stored["status"] == {"phase": "Pending"}
        assert "finalizers" not in stored["metadata"]
        assert world.requests["patch", PLURAL, "409"] == 1
        assert world.requests["patch", f"{PLURAL}/status", "409"] == 1

    run(scenario)


def test_a_namesake_is_a_conflict(run: Run) -> None:
    async def scenario(world: World) -> None:
        old = await world.create("one")
        await world.delete("one")
        new = await world.create("one")
        with pytest.raises(Conflict):
            await world.kube.write_status(old, {"phase": "Failed"})
        with pytest.raises(Conflict):
            await world.kube.set_finalizers(old, [FINALIZER])
        version = new["metadata"]["resourceVersion"]
        mixed = old | {"metadata": old["metadata"] | {"resourceVersion": version}}
        with pytest.raises(Conflict):
            await world.kube.set_finalizers(mixed, [FINALIZER])
        stored = await world.read("one")
        assert stored.get("status") == new.get("status")
        assert stored["metadata"]["resourceVersion"] == version

    run(scenario)


def test_a_deleted_object_is_gone(run: Run) -> None:
    async def scenario(world: World) -> None:
        body = await world.create("one")
        await world.delete("one")
        with pytest.raises(Gone):
            await world.kube.write_status(body, {"phase": "Failed"})
        with pytest.raises(Gone):
            await world.kube.set_finalizers(body, [FINALIZER])

    run(scenario)


def test_the_last_finalizer_lets_a_deleted_object_go(run: Run) -> None:
    async def scenario(world: World) -> None:
        held = await world.kube.set_finalizers(await world.create("one"), [FINALIZER, "x.io/y"])
        assert held["metadata"]["finalizers"] == [FINALIZER, "x.io/y"]
        await world.delete("one")
        deleting = await world.kube.get(world.key("one"))
        assert deleting is not None
        assert deleting["metadata"]["deletionTimestamp"]
        left = await world.kube.set_finalizers(deleting, ["x.io/y"])
        assert left["metadata"]["finalizers"] == ["x.io/y"]
        await world.kube.set_finalizers(left, [])
        assert await world.kube.get(world.key("one")) is None

    run(scenario)


def test_a_status_that_breaks_the_schema_is_rejected_with_its_causes(run: Run) -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(Rejected, match=r"status\.phase: .*string") as caught:
            await world.kube.write_status(await world.create("one"), {"phase": 7})
        assert caught.value.code == "Invalid"

    run(scenario)


def test_a_list_reads_every_page(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fractal_helpers.kube._PAGE", 2)

    async def scenario(world: World) -> None:
        names = [f"object-{number}" for number in range(5)]
        for name in names:
            await world.create(name)
        found = await world.kube.list()
        assert sorted(body["metadata"]["name"] for body in found) == names
        assert world.requests["list", PLURAL, "200"] == 3
        everywhere = await KubeClient.connect(kubeconfig=world.kubeconfig)
        try:
            keys = {
                (body["metadata"]["namespace"], body["metadata"]["name"])
                for body in await everywhere.list()
            }
        finally:
            await everywhere.close()
        assert {(world.namespace, name) for name in names} <= keys

    run(scenario)


def test_a_selector_limits_lists_and_what_an_installation_has_claimed_is_found_all_the_same(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fractal_helpers.kube._PAGE", 2)

    async def scenario(world: World) -> None:
        for number in range(5):
            body = await world.create(f"object-{number}")
            await world.label(f"object-{number}", team="a" if number % 2 else "b")
            fresh = await world.kube.get(ObjectKey(world.namespace, body["metadata"]["name"]))
            assert fresh is not None
            await world.kube.write_status(fresh, {"installation": "one" if number < 4 else "two"})
        await world.create("new")
        some = await KubeClient.connect(
            kubeconfig=world.kubeconfig,
            namespaces=["not-there", world.namespace],
            selector="team in (a,c),!x",
        )
        try:
            found = [await some.list(), await some.claimed("one"), await some.claimed("two")]
        finally:
            await some.close()
        names = [sorted(body["metadata"]["name"] for body in each) for each in found]
        assert names == [
            ["object-1", "object-3"],
            ["object-0", "object-1", "object-2", "object-3"],
            ["object-4"],
        ]

    run(scenario)


def test_only_the_object_that_was_meant_is_deleted(run: Run) -> None:
    async def scenario(world: World) -> None:
        body = await world.create("one")
        namesake = {**body, "metadata": {**body["metadata"], "uid": str(uuid4())}}
        with pytest.raises(Conflict):
            await world.kube.delete(namesake)
        assert await world.kube.get(world.key("one")) is not None
        edited = await world.kube.write_status(body, {"phase": "Pending"})
        with pytest.raises(Conflict):
            await world.kube.delete(body)
        await world.kube.delete(edited)
        assert await world.kube.get(world.key("one")) is None
        with pytest.raises(Gone):
            await world.kube.delete(body)

    run(scenario)


def test_an_event_is_posted_once(run: Run) -> None:
    async def scenario(world: World) -> None:
        body = await world.create("one")
        event = KubeEvent("Warning", "LaunchFailed", "No capacity. " * 100, "abc-1.failed")
        for _ in range(3):
            await world.kube.post_event(body, event)
        events = (await world.core.list_namespaced_event(world.namespace)).items
        assert [each.metadata.name for each in events] == ["one.abc-1.failed"]
        (posted,) = events
        assert (posted.type, posted.reason, posted.count) == ("Warning", "LaunchFailed", 1)
        assert len(posted.message) == 1024
        assert posted.message.startswith("No capacity. ")
        assert posted.involved_object.kind == KIND
        assert posted.involved_object.api_version == API_VERSION
        assert posted.involved_object.uid == body["metadata"]["uid"]
        assert posted.source.component == posted.reporting_component == "fractal-operator"
        assert posted.first_timestamp == posted.last_timestamp
        assert world.requests["create", "events", "201"] == 1
        assert world.requests["create", "events", "409"] == 2

    run(scenario)


def test_the_cluster_is_known_by_the_uid_of_kube_system(run: Run) -> None:
    async def scenario(world: World) -> None:
        namespaces = (await world.core.list_namespace()).items
        expected = {n.metadata.name: n.metadata.uid for n in namespaces}.get("kube-system")
        assert await world.kube.server_uid() == expected

    run(scenario)


def test_unusable_credentials_are_rejected_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no usable Kubernetes credentials"):
        asyncio.run(KubeClient.connect(kubeconfig=tmp_path / "absent"))


# --- leases ---

SPEC = {"holderIdentity": "one", "leaseDurationSeconds": 15, "leaseTransitions": 0}


def test_a_lease_is_made_read_and_replaced(run: Run) -> None:
    async def scenario(world: World) -> None:
        key = world.key("lead")
        assert await world.kube.get_lease(key, 5) is None
        renewed = "2026-01-01T00:00:00.123456Z"
        made = await world.kube.create_lease(key, {**SPEC, "renewTime": renewed}, 5)
        assert await world.kube.get_lease(key, 5) == made
        assert made["spec"] == {**SPEC, "renewTime": renewed}
        taken = await world.kube.update_lease(made, {**SPEC, "holderIdentity": "two"}, 5)
        assert taken["spec"] == {**SPEC, "holderIdentity": "two"}  # the whole spec is replaced
        freed = await world.kube.update_lease(taken, {"leaseDurationSeconds": 1}, 5)
        assert freed["spec"] == {"leaseDurationSeconds": 1}
        assert freed["metadata"]["uid"] == made["metadata"]["uid"]
        asked = {(verb, code): n for (verb, what, code), n in world.requests.items()}
        assert asked == {
            ("get", "404"): 1,
            ("create", "201"): 1,
            ("get", "200"): 1,
            ("update", "200"): 2,
        }

    run(scenario)


def test_of_two_writers_of_a_lease_one_loses(run: Run) -> None:
    async def scenario(world: World) -> None:
        made = await world.kube.create_lease(world.key("lead"), SPEC, 5)
        with pytest.raises(Conflict):
            await world.kube.create_lease(world.key("lead"), SPEC, 5)
        await world.kube.update_lease(made, {**SPEC, "holderIdentity": "two"}, 5)
        with pytest.raises(Conflict):
            await world.kube.update_lease(made, {**SPEC, "holderIdentity": "three"}, 5)
        held = await world.kube.get_lease(world.key("lead"), 5)
        assert held is not None
        assert held["spec"]["holderIdentity"] == "two"

    run(scenario)


def test_a_lease_that_is_gone_or_nowhere_is_told_as_that(run: Run) -> None:
    async def scenario(world: World) -> None:
        made = await world.kube.create_lease(world.key("lead"), SPEC, 5)
        await world.admin.delete_namespaced_custom_object(
            "coordination.k8s.io", "v1", world.namespace, "leases", "lead"
        )
        with pytest.raises((Gone, Conflict)):  # 1.20 misses the uid before the object
            await world.kube.update_lease(made, SPEC, 5)
        nowhere = ObjectKey("there-is-no-such-namespace", "lead")
        assert await world.kube.get_lease(nowhere, 5) is None
        with pytest.raises(Gone, match="there-is-no-such-namespace"):
            await world.kube.create_lease(nowhere, SPEC, 5)

    run(scenario)


def test_who_leads_may_be_told_by_an_event_on_the_lease(run: Run) -> None:
    async def scenario(world: World) -> None:
        lease = await world.kube.create_lease(world.key("lead"), SPEC, 5)
        await world.kube.post_event(lease, KubeEvent("Normal", "LeaderElection", "me", "led-1"))
        [posted] = (await world.core.list_namespaced_event(world.namespace)).items
        about = posted.involved_object
        assert (about.kind, about.api_version) == ("Lease", "coordination.k8s.io/v1")
        assert (about.name, about.uid) == ("lead", lease["metadata"]["uid"])

    run(scenario)


@pytest.mark.parametrize("verb", ["get", "create", "update"])
def test_a_server_that_hangs_costs_a_lease_call_no_more_than_its_time(
    tmp_path: Path, verb: str
) -> None:
    """Whoever waits longer would lead without knowing whether it does."""

    async def scenario() -> None:
        held = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.close()

        silent = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        kube = KubeClient(ApiClient(Configuration(host=f"http://127.0.0.1:{port}")))
        key, lease = ObjectKey("a", "b"), {"metadata": {"namespace": "a", "name": "b"}}
        calls: dict[str, tuple[Callable[..., Awaitable[object]], type[Exception]]] = {
            "get": (partial(kube.get_lease, key), Unavailable),
            "create": (partial(kube.create_lease, key, SPEC), OutcomeUnknown),
            "update": (partial(kube.update_lease, lease, SPEC), OutcomeUnknown),
        }
        call, expected = calls[verb]
        async with asyncio.timeout(30):  # far below the client's own 300 s
            with pytest.raises(expected):
                await call(within=0.2)
        held.set()
        await kube.close()
        silent.close()
        await silent.wait_closed()

    asyncio.run(scenario())
