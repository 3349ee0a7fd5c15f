"""The chart as Helm renders it: what it grants, what it sets, and what it refuses."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from fractal_helpers.aws.limits import OPERATIONS
from fractal_models.crd import crd, render_yaml, strip_cel
from fractal_operator.observability.dashboard import dashboard_json
from fractal_operator.observability.rules import ALERTS, rules_yaml
from fractal_operator.settings import BadSettings, Settings, describe, load_settings
from fractal_operator.settings_allow import KINDS

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "fractal-operator"
RELEASE, NAMESPACE = "fractal-operator", "fractal-system"

Values = dict[str, Any]
Obj = dict[str, Any]
Rule = tuple[str, str, str, str]
"""API group, resource, resource name ("": any) and verb."""

IN_NAMESPACES: set[Rule] = {
    ("fractal.co", "fractalcontainers", "", "get"),  # KubeClient.get
    ("fractal.co", "fractalcontainers", "", "list"),  # KubeClient.list, and kopf
    ("fractal.co", "fractalcontainers", "", "watch"),  # kopf
    ("fractal.co", "fractalcontainers", "", "patch"),  # KubeClient.set_finalizers
    ("fractal.co", "fractalcontainers", "", "delete"),  # KubeClient.delete
    ("fractal.co", "fractalcontainers/status", "", "patch"),  # KubeClient.write_status
    ("", "events", "", "create"),  # KubeClient.post_event
}
CRDS: set[Rule] = {  # kopf
    ("apiextensions.k8s.io", "customresourcedefinitions", "", "list"),
    ("apiextensions.k8s.io", "customresourcedefinitions", "", "watch"),
}
SERVER_UID: set[Rule] = {("", "namespaces", "kube-system", "get")}  # KubeClient.server_uid
NAMED: set[Rule] = {  # kopf, when it watches named namespaces
    ("", "namespaces", "", "list"),
    ("", "namespaces", "", "watch"),
}

RULES = [
    {"namespaces": ["team-*"], "clusters": ["apps-?"], "images": ["registry.example.com/team/*"]},
    {"namespaces": ["ops"], "taskRoles": ["arn:aws:iam::123456789012:role/app+1-*"]},
]
EVENTS: set[Rule] = {("", "events", "", "create")}  # KubeClient.post_event
LEASE: set[Rule] = {  # KubeClient.get_lease, create_lease and update_lease
    ("coordination.k8s.io", "leases", f"{RELEASE}-leader", "get"),
    ("coordination.k8s.io", "leases", "", "create"),
    ("coordination.k8s.io", "leases", f"{RELEASE}-leader", "update"),
}

# What each setting's variable says when values set it as below.
FROM_VALUES: dict[str, tuple[Values, str]] = {
    "allow": ({"allow": RULES}, json.dumps(RULES, sort_keys=True, separators=(",", ":"))),
    "namespaces": ({"watch": {"namespaces": ["a", "b"]}}, "a,b"),
    "label_selector": (
        {"watch": {"labelSelector": "team=a,x notin (b, c)"}},
        "team=a,x notin (b, c)",
    ),
    "metrics_port": ({"metrics": {"port": 9090}}, "9090"),
    "release_name": ({}, RELEASE),
    "release_namespace": ({}, NAMESPACE),
}
SAMPLES: dict[str, Any] = {
    "cluster": "apps",
    "region": "eu-central-1",
    "subnets": ["subnet-0a1b2c3d", "subnet-1a1b2c3d"],
    "security_groups": ["sg-0a1b2c3d", "sg-1a1b2c3d"],
    "assign_public_ip": "Disabled",
    "install_id": "blue",
    "leader_election": False,
    "lease_seconds": 30,
    "lease_renew_seconds": 8.5,
    "lease_retry_seconds": 1.5,
    "sweep_seconds": 100,
    "fast_sweep_seconds": 2.5,
    "sqs_queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/fractal-events",
    "sqs_pollers": 3,
    "audit_seconds": 300,
    "workers": 7,
    "aws_threads": 8,
    "quota_share": 0.25,
    "quotas": ["fargate-launch=500/100", "cluster-modify=200/80.5"],
    "confirm_mass_loss": ["apps", "arn:aws:ecs:eu-central-1:123456789012:cluster/more"],
    "reaper": "report",
    "history_days": 0,
    "metrics_host": "::",
    "log_format": "text",
    "log_level": "DEBUG",
}


def camel(field: str) -> str:
    head, *tail = field.split("_")
    return head + "".join(part.title() for part in tail)


def render(values: Values | None = None, *, name: str = RELEASE) -> list[Obj]:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values or {}, name=name, namespace=NAMESPACE)
    texts = (text for path, text in files.items() if path.endswith(".yaml"))
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def kinds(objects: list[Obj]) -> Counter[str]:
    return Counter(each["kind"] for each in objects)


def one(objects: list[Obj], kind: str) -> Obj:
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def workloads(objects: list[Obj]) -> list[Obj]:
    """What runs the image: the Deployment, then the Jobs that a database and a deletion bring."""
    found = [x for kind in ("Deployment", "Job") for x in objects if x["kind"] == kind]
    assert len(found) == 3
    return found


def job(objects: list[Obj], component: str) -> Obj | None:
    """The Job of that purpose."""
    found = [
        each
        for each in objects
        if each["kind"] == "Job"
        and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    return found[0] if found else None


def role(objects: list[Obj], kind: str = "ClusterRole") -> Obj:
    """The operator's own one, not what is aggregated for its users."""
    named = f"{NAMESPACE}:{RELEASE}"
    [found] = [x for x in objects if x["kind"] == kind and x["metadata"]["name"] == named]
    return found


def rules(given: Obj) -> set[Rule]:
    return {
        (group, resource, name, verb)
        for rule in given["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def variables(objects: list[Obj]) -> dict[str, Any]:
    [container] = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


# --- the whole ---


@pytest.mark.parametrize(
    "values",
    [{}, {"watch": {"namespaces": ["a"]}}, {"database": {"existingSecret": "db"}}],
    ids=["defaults", "namespaces", "database"],
)
def test_helm_finds_nothing_wrong(values: Values) -> None:
    report = helm.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert {each["error"] for each in report["messages"]} <= {"icon is recommended"}


def test_the_defaults_install_the_operator_and_what_it_needs() -> None:
    assert kinds(render()) == {
        "CustomResourceDefinition": 1,
        "Deployment": 1,
        "ServiceAccount": 1,
        "ClusterRole": 2,
        "ClusterRoleBinding": 1,
        "Role": 1,
        "RoleBinding": 1,
        "Service": 1,
        "Job": 1,
    }


def test_every_object_bears_the_labels_that_tools_look_for() -> None:
    everything = {
        "database": {"existingSecret": "db"},
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
        "metrics": {"serviceMonitor": {"renderMode": "always"}},
        "prometheusRule": {"renderMode": "always"},
        "grafanaDashboard": {"enabled": True},
        "rbac": {"aggregateToEdit": True},
        "watch": {"namespaces": ["a"]},
    }
    objects = render(everything)
    assert len(kinds(objects)) == 14
    for each in objects:
        labels = each["metadata"]["labels"]
        told = {key: labels[f"app.kubernetes.io/{key}"] for key in ("name", "instance", "part-of")}
        assert told == {"name": RELEASE, "instance": RELEASE, "part-of": "fractal"}
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"].startswith("fractal-operator-")


def test_the_notes_name_three_next_commands() -> None:
    with helm.Chart.load(CHART) as chart:
        notes = chart.render({}, name=RELEASE, namespace=NAMESPACE)
    text = notes["fractal-operator/templates/NOTES.txt"]
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ")] == [
        "kubectl"
    ] * 3


def test_the_notes_warn_that_a_list_may_refuse_the_first_container() -> None:
    def notes(values: Values) -> str:
        with helm.Chart.load(CHART) as chart:
            files = chart.render(values, name=RELEASE, namespace=NAMESPACE)
        return str(files["fractal-operator/templates/NOTES.txt"])

    assert "Only with an image that allow has" in notes({"allow": RULES})
    assert "Only with an image" not in notes({})


def test_chart_and_package_are_of_one_release() -> None:
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{told["appVersion"]}"\n' in package


# --- the CRD ---


def test_the_charts_copies_of_the_crd_are_fresh() -> None:
    assert (CHART / "files" / "crd.yaml").read_text() == render_yaml()
    assert (CHART / "files" / "crd-no-cel.yaml").read_text() == render_yaml(strip_cel(crd()))


def test_the_crd_is_the_generated_one_and_kept() -> None:
    found = one(render(), "CustomResourceDefinition")
    assert found["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    found["metadata"].pop("labels")
    assert found == crd()


def test_the_crd_goes_with_the_release_when_that_is_wanted() -> None:
    found = one(render({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in found["metadata"]


def test_the_crd_can_be_left_out() -> None:
    assert "CustomResourceDefinition" not in kinds(render({"crds": {"enabled": False}}))


# --- the pods ---


def test_the_pods_are_restricted() -> None:
    objects = render({"database": {"existingSecret": "db"}})
    for each in workloads(objects):
        pod = each["spec"]["template"]["spec"]
        assert pod["enableServiceLinks"] is False
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == 65532
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for volume in pod["volumes"]:
            assert set(volume) == {"name", "emptyDir"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "privileged": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_a_new_operator_stands_by_before_the_old_one_goes() -> None:
    spec = one(render(), "Deployment")["spec"]
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert (spec["replicas"], spec["strategy"]) == (1, rolling)
    assert "topologySpreadConstraints" not in spec["template"]["spec"]


def test_without_an_election_there_is_one_operator_at_a_time() -> None:
    spec = one(render({"settings": {"leaderElection": False}}), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    with pytest.raises(helm.HelmRenderError, match=r"two replicas need settings\.leaderElection"):
        render({"replicas": 2, "settings": {"leaderElection": False}})


def test_two_replicas_are_spread_and_not_drained_at_once() -> None:
    objects = render({"replicas": 2})
    spec = one(objects, "Deployment")["spec"]
    assert spec["replicas"] == 2
    [spread] = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == spec["selector"]
    assert one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    refused = {"replicas": 2, "podDisruptionBudget": {"enabled": False}}
    assert kinds(render(refused))["PodDisruptionBudget"] == 0


def test_the_probes_ask_where_the_operator_answers() -> None:
    objects = render({"metrics": {"port": 9090}})
    [container] = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9090, "protocol": "TCP"}]
    asked = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "metrics"},
        "livenessProbe": {"path": "/healthz", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
    }
    assert variables(objects)["FRACTAL_METRICS_PORT"] == "9090"
    assert one(objects, "Service")["spec"]["ports"][0]["port"] == 9090


def test_only_the_operators_pods_are_selected() -> None:
    objects = render(
        {
            "database": {"existingSecret": "db"},
            "networkPolicy": {"enabled": True},
            "podDisruptionBudget": {"enabled": True},
        }
    )
    operator = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    others = [each["spec"]["template"]["metadata"]["labels"] for each in workloads(objects)[1:]]
    for selector in (
        one(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        one(objects, "Service")["spec"]["selector"],
        one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= operator.items()
        assert not any(selector.items() <= other.items() for other in others)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "fractal-operator:0.1.0"),
        ({"repository": "example.com/fractal", "tag": "1.2"}, "example.com/fractal:1.2"),
        ({"tag": "1.2", "digest": "sha256:" + "a" * 64}, "fractal-operator@sha256:" + "a" * 64),
    ],
    ids=["release", "tag", "digest"],
)
def test_the_image_is_the_one_that_was_named(image: Values, expected: str) -> None:
    objects = render({"image": image, "database": {"existingSecret": "db"}})
    for each in workloads(objects):
        [container] = each["spec"]["template"]["spec"]["containers"]
        assert container["image"] == expected


# --- rights ---


def test_the_operator_may_do_what_its_code_does_and_nothing_else() -> None:
    objects = render()
    assert rules(role(objects)) == IN_NAMESPACES | CRDS | SERVER_UID
    assert rules(one(objects, "Role")) == LEASE
    binding = one(objects, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role(objects)["metadata"]["name"]
    account = one(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


def test_with_named_namespaces_it_may_write_in_those_only() -> None:
    objects = render({"watch": {"namespaces": ["a", "b"]}})
    assert rules(role(objects)) == CRDS | SERVER_UID | NAMED
    given = {x["metadata"]["namespace"]: rules(x) for x in objects if x["kind"] == "Role"}
    assert given == {"a": IN_NAMESPACES, "b": IN_NAMESPACES, NAMESPACE: LEASE | EVENTS}
    bound = [x for x in objects if x["kind"] == "RoleBinding"]
    assert [x["metadata"]["namespace"] for x in bound] == ["a", "b", NAMESPACE]
    assert {x["subjects"][0]["namespace"] for x in bound} == {NAMESPACE}
    assert [(x["roleRef"]["kind"], x["roleRef"]["name"]) for x in bound] == [
        ("Role", f"{NAMESPACE}:{RELEASE}"),
        ("Role", f"{NAMESPACE}:{RELEASE}"),
        ("Role", f"{RELEASE}-leader"),
    ]


def test_in_its_own_namespace_nothing_is_granted_twice() -> None:
    given = [x for x in render({"watch": {"namespaces": [NAMESPACE]}}) if x["kind"] == "Role"]
    assert [rules(x) for x in given] == [IN_NAMESPACES, LEASE]


def test_without_an_election_there_is_no_lease_to_write() -> None:
    found = kinds(render({"settings": {"leaderElection": False}}))
    assert not {"Role", "RoleBinding"} & set(found)


def test_a_named_installation_does_not_read_kube_system() -> None:
    assert rules(role(render({"settings": {"installId": "blue"}}))) == IN_NAMESPACES | CRDS


def test_without_rights_in_the_cluster_there_are_roles_only() -> None:
    values: Values = {"watch": {"namespaces": ["a"]}, "rbac": {"clusterRead": False}}
    with pytest.raises(helm.HelmRenderError, match=r"needs settings\.installId"):
        render(values)
    objects = render(values | {"settings": {"installId": "blue"}})
    assert kinds(objects)["ClusterRoleBinding"] == 0
    given = [rules(x) for x in objects if x["kind"] == "Role"]
    assert given == [IN_NAMESPACES, LEASE | EVENTS]


def test_rights_can_come_from_elsewhere() -> None:
    found = kinds(render({"rbac": {"create": False, "aggregateToView": False}}))
    assert not {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"} & set(found)


def test_what_users_may_do_is_aggregated_into_their_roles() -> None:
    objects = render({"rbac": {"aggregateToEdit": True}})
    users = {
        x["metadata"]["name"].rpartition("-")[2]: x
        for x in objects
        if x["kind"] == "ClusterRole" and x is not role(objects)
    }
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        name: sorted(key.removeprefix(prefix) for key in x["metadata"]["labels"] if prefix in key)
        for name, x in users.items()
    }
    assert aggregated == {"view": ["admin", "edit", "view"], "edit": ["admin", "edit"]}
    verbs = {name: {verb for *_, verb in rules(x)} for name, x in users.items()}
    assert verbs == {
        "view": {"get", "list", "watch"},
        "edit": {"create", "update", "patch", "delete", "deletecollection"},
    }


def test_a_service_account_takes_the_annotation_of_irsa() -> None:
    wanted = {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/fractal-operator"}
    found = one(render({"serviceAccount": {"annotations": wanted}}), "ServiceAccount")
    assert found["metadata"]["annotations"] == wanted


def test_an_existing_service_account_is_used_and_bound() -> None:
    objects = render({"serviceAccount": {"create": False, "name": "mine"}})
    assert kinds(objects)["ServiceAccount"] == 0
    assert one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    assert one(objects, "ClusterRoleBinding")["subjects"][0]["name"] == "mine"


# --- database ---


def test_a_database_secret_is_referred_to_and_migrated_beforehand() -> None:
    objects = render({"database": {"existingSecret": "db", "key": "dsn"}})
    expected = {"secretKeyRef": {"name": "db", "key": "dsn"}}
    assert variables(objects)["FRACTAL_DATABASE_URL"] == expected
    found = job(objects, "migration")
    assert found is not None
    assert found["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = found["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod  # before the first installation there is none
    [container] = pod["containers"]
    assert container["command"] + container["args"] == ["fractal-operator", "migrate"]
    assert container["env"] == [{"name": "FRACTAL_DATABASE_URL", "valueFrom": expected}]


def test_migrations_can_be_left_to_somebody_else() -> None:
    values = {"database": {"existingSecret": "db", "migrate": False}}
    assert job(render(values), "migration") is None


def test_an_uninstallation_is_checked_first_with_the_operators_own_rights() -> None:
    objects = render({"watch": {"namespaces": ["a", "b"]}})
    found = job(objects, "uninstall")
    assert found is not None
    told = found["metadata"]["annotations"]
    assert told["helm.sh/hook"] == "pre-delete"
    assert told["helm.sh/hook-output-log-policy"] == "hook-failed"
    assert found["spec"]["backoffLimit"] == 0
    assert found["spec"]["activeDeadlineSeconds"] < 300  # Helm's patience
    pod = found["spec"]["template"]["spec"]
    account = one(objects, "ServiceAccount")["metadata"]["name"]
    assert pod["serviceAccountName"] == account
    [container] = pod["containers"]
    assert container["command"] + container["args"] == ["fractal-operator", "uninstall-check"]
    assert container["env"] == [{"name": "FRACTAL_NAMESPACES", "value": "a,b"}]
    shard = job(render({"watch": {"labelSelector": "team=a"}}), "uninstall")
    assert shard is not None
    [container] = shard["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "FRACTAL_LABEL_SELECTOR", "value": "team=a"}]
    everywhere = job(render(), "uninstall")
    assert everywhere is not None
    assert "env" not in everywhere["spec"]["template"]["spec"]["containers"][0]
    assert job(render({"uninstallCheck": {"enabled": False}}), "uninstall") is None


# --- monitoring and the network ---


def test_a_service_monitor_is_made_where_its_kind_is_known() -> None:
    assert kinds(render())["ServiceMonitor"] == 0
    monitor = {"renderMode": "always", "labels": {"release": "prometheus"}, "interval": "15s"}
    found = one(render({"metrics": {"serviceMonitor": monitor}}), "ServiceMonitor")
    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["spec"]["endpoints"] == [{"port": "metrics", "interval": "15s"}]


def test_a_service_monitor_without_its_service_is_refused() -> None:
    values: Values = {"service": {"enabled": False}}
    assert not {"Service", "ServiceMonitor"} & set(kinds(render({"metrics": values})))
    values["serviceMonitor"] = {"renderMode": "always"}
    with pytest.raises(helm.HelmRenderError, match=r"set metrics\.service\.enabled=true, or"):
        render({"metrics": values})
    values["serviceMonitor"]["enabled"] = False
    assert not {"Service", "ServiceMonitor"} & set(kinds(render({"metrics": values})))


def test_the_alerts_are_made_where_their_kind_is_known() -> None:
    assert kinds(render())["PrometheusRule"] == 0
    values = {"renderMode": "always", "labels": {"release": "prometheus"}}
    found = one(render({"prometheusRule": values}), "PrometheusRule")
    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["spec"] == yaml.safe_load(rules_yaml())
    off = {"prometheusRule": values | {"enabled": False}}
    assert kinds(render(off))["PrometheusRule"] == 0


@pytest.mark.parametrize(
    ("values", "name", "down"),
    [
        ({}, RELEASE, ["fractal-operator"]),
        ({}, "blue", ["blue-fractal-operator"]),
        ({"fullnameOverride": "fc-op"}, RELEASE, ["fc-op", "my-fractal-operator"]),
        ({"nameOverride": "fc"}, "blue", ["blue-fc", "my-fractal-operator"]),
    ],
    ids=["default", "release", "full name", "name"],
)
def test_an_operator_that_is_down_is_known_by_the_name_of_its_service(
    values: Values, name: str, down: list[str]
) -> None:
    """Which is its job's; or, without a ServiceMonitor, by the name that the page asks for."""
    made = render({**values, "prometheusRule": {"renderMode": "always"}}, name=name)
    assert one(made, "Service")["metadata"]["name"] == down[0]
    [group] = one(made, "PrometheusRule")["spec"]["groups"]
    [expr] = [x["expr"] for x in group["rules"] if x["alert"] == "FractalOperatorDown"]
    told = re.search(r'up\{job=~"(.*)"\} == 0', expr)
    assert told
    assert all(re.fullmatch(told[1], each) for each in down)
    assert not re.fullmatch(told[1], "prometheus-operator")


def test_the_runbooks_are_where_the_values_say_and_groups_may_be_added() -> None:
    base = "https://docs.example.com/fractal/runbooks"
    group = {"name": "own", "rules": [{"record": "one", "expr": "vector(1)"}]}
    values = {"renderMode": "always", "runbookBaseUrl": base, "additionalGroups": [group]}
    ours, own = one(render({"prometheusRule": values}), "PrometheusRule")["spec"]["groups"]
    assert own == group
    assert [rule["annotations"]["runbook_url"] for rule in ours["rules"]] == [
        f"{base}/{alert.name}.md" for alert in ALERTS
    ]


def test_the_dashboard_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    assert kinds(render())["ConfigMap"] == 0
    values = {"enabled": True, "sidecarLabel": "board", "annotations": {"grafana_folder": "F"}}
    found = one(render({"grafanaDashboard": values}), "ConfigMap")
    assert found["metadata"]["labels"]["board"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "F"}
    assert json.loads(found["data"]["fractal-operator.json"]) == json.loads(dashboard_json())


def test_the_values_of_the_page_about_monitoring_do_what_it_says() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    values: Values = {key: part for text in blocks for key, part in yaml.safe_load(text).items()}
    assert set(values) == {"metrics", "grafanaDashboard", "prometheusRule"}
    for each in (values["metrics"]["serviceMonitor"], values["prometheusRule"]):
        each["renderMode"] = "always"
    objects = render(values)
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert one(objects, kind)["metadata"]["labels"]["release"] == "prometheus"
    assert one(objects, "ConfigMap")["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_network_policy_opens_the_metrics_port_and_what_the_operator_calls() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    values = {"enabled": True, "ingressFrom": peers, "egressPorts": [443]}
    spec = one(render({"networkPolicy": values}), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"from": peers, "ports": [{"protocol": "TCP", "port": "metrics"}]}]
    [egress] = spec["egress"]
    assert [(each["protocol"], each["port"]) for each in egress["ports"]] == [
        ("UDP", 53),
        ("TCP", 53),
        ("TCP", 443),
    ]


def test_a_disruption_budget_lets_nodes_drain() -> None:
    spec = one(render({"podDisruptionBudget": {"enabled": True}}), "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1


# --- settings ---


@pytest.mark.parametrize("field", sorted(set(Settings.model_fields) - {"database_url"}))
def test_every_setting_is_set_by_values(field: str) -> None:
    if field in FROM_VALUES:
        values, expected = FROM_VALUES[field]
    else:
        sample = SAMPLES[field]
        values = {"settings": {camel(field): sample}}
        expected = ",".join(sample) if isinstance(sample, list) else str(sample)
        if isinstance(sample, bool):
            expected = expected.lower()
    found = variables(render(values))
    assert found[f"FRACTAL_{field.upper()}"] == expected
    before = load_settings(variables(render()))
    after = load_settings(found)
    changed = {
        name for name in Settings.model_fields if getattr(before, name) != getattr(after, name)
    }
    assert changed == ({field} if values else set())


def test_the_charts_defaults_are_the_operators() -> None:
    given = variables(render())
    assert set(given) <= {row.variable for row in describe()}
    assert load_settings(given) == load_settings(
        {"FRACTAL_RELEASE_NAME": RELEASE, "FRACTAL_RELEASE_NAMESPACE": NAMESPACE}
    )


def test_the_schema_allows_what_the_settings_allow() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    in_chart = schema["properties"]["settings"]["properties"]
    elsewhere = {*FROM_VALUES, "database_url"}
    in_code = Settings.model_json_schema()["properties"]
    assert set(in_chart) == {camel(field) for field in in_code if field not in elsewhere}
    for field in set(in_code) - elsewhere:
        assert in_chart[camel(field)] == _schema(in_code[field]), field


def _schema(node: Obj) -> Obj:
    """What the chart's schema says of a setting; "" leaves it to the operator."""
    options = [each for each in node.get("anyOf", [node]) if each.get("type") != "null"]
    [node] = options
    kept = ("type", "minimum", "maximum", "exclusiveMinimum", "maxItems", "pattern")
    if "enum" in node:
        return {"enum": ["", *node["enum"]]}
    found = {key: node[key] for key in kept if key in node}
    if "items" in node:
        found["items"] = {key: node["items"][key] for key in kept if key in node["items"]}
    elif "pattern" in found:
        found["pattern"] = "^$|" + found["pattern"]
    return found


def test_the_schema_allows_the_patterns_that_the_settings_allow() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    rule = schema["properties"]["allow"]["items"]
    assert rule["required"] == ["namespaces"]
    found = {name: each["items"]["pattern"] for name, each in rule["properties"].items()}
    assert found == {name: f"^({kind.expression})$" for name, kind in KINDS.items()}


# --- the allow-list at the API server; what it decides is tested on real servers, in tests/e2e ---

ALWAYS = {"admissionPolicy": {"renderMode": "always"}}


def test_the_admission_policy_is_made_where_its_kind_is_known() -> None:
    assert "ValidatingAdmissionPolicy" not in kinds(render({"allow": RULES}))
    off = {"admissionPolicy": {"enabled": False, "renderMode": "always"}}
    assert "ValidatingAdmissionPolicy" not in kinds(render(off))
    made = render({**ALWAYS, "allow": RULES})
    policy = one(made, "ValidatingAdmissionPolicy")
    binding = one(made, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert re.fullmatch(r"[a-z0-9.-]{1,253}", policy["metadata"]["name"])


def test_the_admission_policy_looks_at_specs_only_never_at_status_or_deletion() -> None:
    spec = one(render(ALWAYS), "ValidatingAdmissionPolicy")["spec"]
    [matched] = spec["matchConstraints"]["resourceRules"]
    assert matched["resources"] == ["fractalcontainers"]
    assert matched["operations"] == ["CREATE", "UPDATE"]


def test_a_list_that_the_api_server_could_not_read_is_refused_before_it_bars_everything() -> None:
    images = [f"registry.example.com/team/{number:04d}/*" for number in range(3000)]
    values = {**ALWAYS, "allow": [{"namespaces": ["a"], "images": images}]}
    with pytest.raises(helm.HelmRenderError, match="allow is too long for the API server"):
        render(values)
    assert render(values | {"admissionPolicy": {"enabled": False}})


def test_without_rules_the_api_server_refuses_adoption_only() -> None:
    def checked(values: Values) -> list[str]:
        spec = one(render({**ALWAYS, **values}), "ValidatingAdmissionPolicy")["spec"]
        return [each["name"] for each in spec["variables"]]

    assert checked({}) == ["adoptable", "refused"]
    lists = [name for name in KINDS if name not in ("namespaces", "regions", "adoptable")]
    assert sorted(checked({"allow": RULES})) == sorted([*lists, "adoptable", "refused"])
    with_region = checked({"allow": RULES, "settings": {"region": "eu-central-1"}})
    assert sorted(with_region) == sorted([*lists, "regions", "adoptable", "refused"])


def test_the_admission_policy_covers_the_namespaces_that_are_watched() -> None:
    def conditions(values: Values) -> dict[str, str]:
        spec = one(render({**ALWAYS, **values}), "ValidatingAdmissionPolicy")["spec"]
        return {each["name"]: each["expression"] for each in spec["matchConditions"]}

    assert set(conditions({})) == {"not-deleted", "changed"}
    watched = conditions({"watch": {"namespaces": ["a", "b"]}})["watched"]
    assert watched == "request.namespace in ['a', 'b']"
    label = "(object.metadata.?labels[?'{}'].orValue('<none>') {})"
    for selector, expected in {
        "team=a": label.format("team", "in ['a']"),
        "team==": label.format("team", "in ['']"),
        "tier != test": "!" + label.format("tier", "in ['test']"),
        "team in (a, b)": label.format("team", "in ['a', 'b']"),
        "notin notin (in)": "!" + label.format("notin", "in ['in']"),
        "x.example.com/in": label.format("x.example.com/in", "!= '<none>'"),
        "! team": "!" + label.format("team", "!= '<none>'"),
        "team in (a,b),!x": label.format("team", "in ['a', 'b']")
        + " && !"
        + label.format("x", "!= '<none>'"),
    }.items():
        assert conditions({"watch": {"labelSelector": selector}})["selected"] == expected


def test_more_variables_may_be_given() -> None:
    extra = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
    assert variables(render({"extraEnv": extra}))["HTTPS_PROXY"] == "http://proxy:3128"


# --- what is refused ---


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"replicas": 3}, "/replicas"),
        ({"replica": 1}, "replica"),
        ({"settings": {"sweepSeconds": 4}}, "/settings/sweepSeconds"),
        ({"settings": {"sweepSecond": 60}}, "/settings"),
        ({"settings": {"sqsQueueUrl": "fractal-events"}}, "/settings/sqsQueueUrl"),
        ({"settings": {"subnets": ["subnet-x"]}}, "/settings/subnets/0"),
        ({"settings": {"assignPublicIp": True}}, "/settings/assignPublicIp"),
        ({"settings": {"quotaShare": 0}}, "/settings/quotaShare"),
        ({"settings": {"quotas": ["fargate-launch=500"]}}, "/settings/quotas/0"),
        ({"allow": [{"images": ["*"]}]}, "/allow/0"),
        ({"allow": [{"namespaces": []}]}, "/allow/0/namespaces"),
        ({"allow": [{"namespaces": ["a"], "image": ["*"]}]}, "/allow/0"),
        ({"allow": [{"namespaces": ["a"], "taskRoles": ["admin"]}]}, "/allow/0/taskRoles/0"),
        ({"allow": [{"namespaces": ["a"], "images": ["a' || true"]}]}, "/allow/0/images/0"),
        ({"admissionPolicy": {"renderMode": "maybe"}}, "/admissionPolicy"),
        ({"watch": {"namespaces": ["Not_One"]}}, "/watch/namespaces/0"),
        ({"watch": {"labelSelector": "team=a,"}}, "/watch/labelSelector"),
        ({"watch": {"labelSelector": "team in ()"}}, "/watch/labelSelector"),
        ({"watch": {"labelSelector": "tier>2"}}, "/watch/labelSelector"),
        ({"image": {"digest": "sha256:short"}}, "/image/digest"),
        ({"metrics": {"port": 0}}, "/metrics/port"),
        ({"metrics": {"serviceMonitor": {"renderMode": "maybe"}}}, "/metrics/serviceMonitor"),
        ({"prometheusRule": {"renderMode": "maybe"}}, "/prometheusRule/renderMode"),
        ({"prometheusRule": {"runbookBaseUrl": "docs/"}}, "/prometheusRule/runbookBaseUrl"),
        ({"grafanaDashboard": {"sidecarLabel": ""}}, "/grafanaDashboard/sidecarLabel"),
        ({"resources": {"limit": {"memory": "1Gi"}}}, "/resources"),
        ({"extraEnv": [{"name": "FRACTAL_CLUSTER", "value": "x"}]}, "/extraEnv/0/name"),
        ({"database": {"url": "postgresql://u:p@h/d"}}, "/database"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_values_are_refused_where_they_stand(values: Values, path: str) -> None:
    with pytest.raises(helm.HelmValuesError) as refused:
        render(values)
    assert path in str(refused.value).replace("'", "")


@pytest.mark.parametrize(
    ("taken", "settings"),
    [
        (False, {"lease_seconds": 5, "lease_renew_seconds": 10}),
        (False, {"lease_seconds": 11}),
        (True, {"lease_seconds": 12}),
        (True, {"lease_seconds": 10, "lease_renew_seconds": 9}),
        (False, {"lease_seconds": 10, "lease_renew_seconds": 9.01}),
        (True, {"lease_renew_seconds": 3, "lease_retry_seconds": 1.5}),
        (False, {"lease_renew_seconds": 3, "lease_retry_seconds": 1.6}),
        (False, {"lease_renew_seconds": 14}),
        (True, {"lease_seconds": 300, "lease_renew_seconds": 200, "lease_retry_seconds": 60}),
        (True, {"sweep_seconds": 5, "fast_sweep_seconds": 5}),
        (False, {"sweep_seconds": 5, "fast_sweep_seconds": 5.5}),
        (True, {"sweep_seconds": 60, "audit_seconds": 60}),
        (False, {"sweep_seconds": 120, "audit_seconds": 100}),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused_before_a_pod_refuses_them(
    taken: bool, settings: dict[str, float]
) -> None:
    values = {"settings": {camel(field): value for field, value in settings.items()}}
    told = {f"FRACTAL_{field.upper()}": str(value) for field, value in settings.items()}
    if taken:
        assert load_settings(variables(render(values))) == load_settings(variables(render()) | told)
        return
    with pytest.raises(BadSettings):
        load_settings(told)
    with pytest.raises(helm.HelmRenderError, match="must"):
        render(values)


def test_a_name_that_cannot_name_an_installation_is_refused() -> None:
    with pytest.raises(helm.HelmRenderError, match="must have no dot"):
        render(name="fractal.operator")


# --- docs/install.md ---


def _documented(language: str) -> list[str]:
    page = (ROOT / "docs" / "install.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_documented_values_install_what_they_say() -> None:
    [text] = _documented("yaml")
    objects = render(yaml.safe_load(text))
    assert job(objects, "migration") is not None
    assert kinds(objects)["NetworkPolicy"] == 1
    told = variables(objects)
    assert told.pop("FRACTAL_DATABASE_URL") == {
        "secretKeyRef": {"name": "fractal-db", "key": "url"}
    }
    assert load_settings(told).cluster == "apps"


def test_the_documented_policy_allows_every_call_of_the_code_and_only_named_roles() -> None:
    statements = json.loads(_documented("json")[0])["Statement"]
    actions = [
        action
        for each in statements
        for action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    ]
    assert all(re.fullmatch(r"(ecs|ec2|iam|sqs):[A-Z][A-Za-z]+", action) for action in actions)
    # No call of ECS and EC2 goes without a share of a quota; this one needs no permission.
    calls = set(OPERATIONS) - {"GetCallerIdentity"}
    named = [action.partition(":")[2] for action in actions if not action.startswith("sqs:")]
    assert sorted(named) == sorted({*calls, "PassRole"})
    # SQS has no quota. DeleteMessage allows DeleteMessageBatch; test_iam.py reads what is called.
    [reading] = [each for each in statements if "sqs" in json.dumps(each["Action"])]
    assert sorted(reading["Action"]) == ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
    assert re.fullmatch(r"arn:aws:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+", reading["Resource"])
    [passing] = [each for each in statements if "iam:PassRole" in each["Action"]]
    assert not [arn for arn in passing["Resource"] if "*" in arn]
    service = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    assert passing["Condition"] == service
    [launching] = [each for each in statements if "ecs:RunTask" in each["Action"]]
    assert "ecs:cluster" in launching["Condition"]["ArnEquals"]
