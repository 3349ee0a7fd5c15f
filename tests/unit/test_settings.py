"""Settings from an environment, and what is said about a bad one."""

import json

import pytest

from fractal_helpers.aws.limits import Quota
from fractal_operator.core.allow import Rule
from fractal_operator.settings import BadSettings, Settings, describe, load_settings
from fractal_operator.settings_allow import KINDS, WORDS
from fractal_operator.settings_quotas import WORDS as QUOTA_WORDS


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as caught:
        load_settings(environ)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def test_an_empty_environment_is_enough() -> None:
    settings = load_settings({})
    assert settings.region is None
    assert settings.namespaces == ()
    assert settings.database_url is None


def test_only_the_environment_given_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTAL_WORKERS", "3")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert load_settings({}).workers != 3
    assert load_settings({}).region is None


def test_values_are_read_with_their_types() -> None:
    settings = load_settings(
        {
            "FRACTAL_CLUSTER": "arn:aws:ecs:eu-central-1:123456789012:cluster/apps",
            "FRACTAL_SUBNETS": " subnet-0123456789abcdef0, subnet-01234567 ,",
            "FRACTAL_ASSIGN_PUBLIC_IP": "Enabled",
            "FRACTAL_METRICS_PORT": "0",
            "FRACTAL_SWEEP_SECONDS": "30.5",
            "FRACTAL_DATABASE_URL": "postgresql://u:p@db/fractal\n",
            "FRACTAL_CONFIRM_MASS_LOSS": "apps",
            "FRACTAL_LOG_LEVEL": "",
        }
    )
    assert settings.cluster == "arn:aws:ecs:eu-central-1:123456789012:cluster/apps"
    assert settings.subnets == ("subnet-0123456789abcdef0", "subnet-01234567")
    assert settings.assign_public_ip == "Enabled"
    assert settings.metrics_port == 0
    assert settings.sweep_seconds == 30.5
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://u:p@db/fractal"
    assert settings.confirm_mass_loss == ("apps",)
    assert settings.log_level == "INFO"


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-west-1", "FRACTAL_REGION": "us-gov-west-1"}, "us-gov-west-1"),
    ],
)
def test_the_region_falls_back_to_what_aws_tools_read(environ: dict[str, str], region: str) -> None:
    assert load_settings(environ).region == region


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("FRACTAL_WORKERS", "many", "'many' is not allowed; allowed: a whole number from 1 to 256"),
        ("FRACTAL_WORKERS", "0", "'0' is not allowed; allowed: a whole number from 1 to 256"),
        ("FRACTAL_SWEEP_SECONDS", "nan", "'nan' is not allowed; allowed: a number from 5 to 240"),
        (
            "FRACTAL_LABEL_SELECTOR",
            "team=a,tier>2",
            "'tier>2' is no term of a label selector; allowed: terms such as team=a, tier!=test, "
            "team in (a,b), team notin (c), team, !team; comma-separated",
        ),
        (
            "FRACTAL_QUOTAS",
            "fargate-launch=0/5",
            f"'fargate-launch=0/5' is not allowed; allowed: {QUOTA_WORDS}",
        ),
        (
            "FRACTAL_QUOTAS",
            "sts=9/9, fargate-launch=5",
            f"'fargate-launch=5' is not allowed; allowed: {QUOTA_WORDS}",
        ),
        (
            "FRACTAL_QUOTAS",
            "fargate=100/20",
            f"'fargate' is no quota group; allowed: {QUOTA_WORDS}",
        ),
        ("FRACTAL_QUOTAS", "sts=9/9,sts=8/8", "'sts' is named twice"),
        ("FRACTAL_QUOTA_SHARE", "0", "'0' is not allowed; allowed: a number above 0, up to 1"),
        ("FRACTAL_LOG_FORMAT", "xml", "'xml' is not allowed; allowed: one of auto, json, text"),
        (
            "FRACTAL_ASSIGN_PUBLIC_IP",
            "true",
            "'true' is not allowed; allowed: one of Enabled, Disabled",
        ),
        (
            "FRACTAL_NAMESPACES",
            "team-a,Team_B",
            "'Team_B' is not allowed; allowed: namespace names, comma-separated",
        ),
        (
            "FRACTAL_INSTALL_ID",
            "a" * 21,
            f"'{'a' * 21}' is not allowed; allowed: 1 to 20 of a-z, 0-9 and -",
        ),
        ("AWS_REGION", "Europe", "'Europe' is not allowed; allowed: a region such as eu-central-1"),
    ],
)
def test_a_fault_is_one_line_with_the_variable_and_what_is_allowed(
    variable: str, value: str, line: str
) -> None:
    assert faults({variable: value}) == (f"{variable}: {line}",)


ROLES = "* or the pattern of a role's ARN, arn:aws:iam::123456789012:role/app-*"


def test_the_accounts_own_quotas_are_read() -> None:
    settings = load_settings({"FRACTAL_QUOTAS": "fargate-launch=500/100, cluster-modify=200/80.5"})
    expected = {"fargate-launch": Quota(500, 100), "cluster-modify": Quota(200, 80.5)}
    assert dict(settings.quotas) == expected


def test_the_allow_list_is_read_into_rules() -> None:
    rules = [
        {
            "namespaces": ["team-*"],
            "regions": ["eu-*"],
            "clusters": ["apps-?", "arn:aws:ecs:*:123456789012:cluster/*"],
            "taskRoles": ["arn:aws:iam::123456789012:role/app-*"],
            "executionRoles": ["*"],
            "subnets": ["subnet-0a1b2c3d"],
            "securityGroups": ["sg-*"],
            "images": ["registry.example.com/team/*"],
            "adoptable": ["arn:aws:ecs:eu-central-1:123456789012:task/apps/*"],
        },
        {"namespaces": ["ops"]},
    ]
    assert load_settings({"FRACTAL_ALLOW": json.dumps(rules)}).allow == (
        Rule(
            namespaces=("team-*",),
            regions=("eu-*",),
            clusters=("apps-?", "arn:aws:ecs:*:123456789012:cluster/*"),
            task_roles=("arn:aws:iam::123456789012:role/app-*",),
            execution_roles=("*",),
            subnets=("subnet-0a1b2c3d",),
            security_groups=("sg-*",),
            images=("registry.example.com/team/*",),
            adoptable=("arn:aws:ecs:eu-central-1:123456789012:task/apps/*",),
        ),
        Rule(namespaces=("ops",)),
    )
    assert load_settings({}).allow == load_settings({"FRACTAL_ALLOW": "[]"}).allow == ()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("team-*", "not JSON (Expecting value: line 1 column 1 (char 0)); allowed: " + WORDS),
        ("{}", "not a list; allowed: " + WORDS),
        ("[[]]", "rule 1 is not an object"),
        (
            '[{"namespaces": ["a"]}, {"images": ["*"]}]',
            'rule 2 names no namespaces; for all of them: "namespaces": ["*"]',
        ),
        (
            '[{"namespaces": ["a"], "namespaces": ["b"]}]',
            "not JSON (a key stands twice in one rule); allowed: " + WORDS,
        ),
        (
            '[{"namespaces": ["a"], "taskRole": []}]',
            "rule 1: there is no list taskRole; did you mean taskRoles?",
        ),
        (
            '[{"namespaces": ["a"], "x": []}]',
            "rule 1: there is no list x; there are namespaces, regions, clusters, taskRoles, "
            "executionRoles, subnets, securityGroups, images, adoptable",
        ),
        ('[{"namespaces": "a"}]', "rule 1: namespaces is not a list"),
        (
            '[{"namespaces": ["a"], "taskRoles": ["admin"]}]',
            f'rule 1: "admin" is not allowed in taskRoles; allowed: {ROLES}',
        ),
        (
            '[{"namespaces": ["a"], "taskRoles": ["arn:aws:iam::1:user/x", 3]}]',
            f'rule 1: "arn:aws:iam::1:user/x" is not allowed in taskRoles; allowed: {ROLES}; '
            f"rule 1: 3 is not allowed in taskRoles; allowed: {ROLES}",
        ),
        (
            '[{"namespaces": ["Team"]}]',
            'rule 1: "Team" is not allowed in namespaces; allowed: * or a pattern of namespaces, '
            "team-*",
        ),
    ],
)
def test_a_faulty_allow_list_is_told_by_rule_and_list(value: str, line: str) -> None:
    assert faults({"FRACTAL_ALLOW": value}) == (f"FRACTAL_ALLOW: {line}",)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "namespaces"])
def test_no_pattern_of_the_allow_list_can_end_a_string_or_be_an_expression(name: str) -> None:
    for text in ("'", '"', "\\", "a b", "a\n", "(a)", "[a]", "a|b", "$", "", "a'||true||'"):
        value = json.dumps([{"namespaces": ["a"], name: [text]}])
        (line,) = faults({"FRACTAL_ALLOW": value})
        assert f"is not allowed in {name}; allowed: " in line


def test_every_fault_is_told_at_once() -> None:
    lines = faults({"FRACTAL_WORKERS": "x", "FRACTAL_LOG_LEVEL": "loud", "FRACTAL_NO_SUCH": "1"})
    assert sorted(line.partition(":")[0] for line in lines) == [
        "FRACTAL_LOG_LEVEL",
        "FRACTAL_NO_SUCH",
        "FRACTAL_WORKERS",
    ]


def test_a_typing_error_gets_a_suggestion() -> None:
    (line,) = faults({"FRACTAL_WORKER": "4"})
    assert line == "FRACTAL_WORKER: there is no such setting; did you mean FRACTAL_WORKERS?"


def test_two_settings_that_do_not_fit_together_are_both_named() -> None:
    (line,) = faults({"FRACTAL_SWEEP_SECONDS": "10", "FRACTAL_FAST_SWEEP_SECONDS": "20"})
    assert line == "FRACTAL_FAST_SWEEP_SECONDS must not be above FRACTAL_SWEEP_SECONDS"
    (line,) = faults({"FRACTAL_SWEEP_SECONDS": "100", "FRACTAL_AUDIT_SECONDS": "80"})
    assert line == "FRACTAL_AUDIT_SECONDS must not be below FRACTAL_SWEEP_SECONDS"


@pytest.mark.parametrize(
    ("terms", "wrong"),
    [
        ({"LEASE_SECONDS": "20", "LEASE_RENEW_SECONDS": "18"}, ""),
        ({"LEASE_SECONDS": "20", "LEASE_RENEW_SECONDS": "18.1"}, "FRACTAL_LEASE_RENEW_SECONDS"),
        ({"LEASE_SECONDS": "10"}, "FRACTAL_LEASE_RENEW_SECONDS"),
        ({"LEASE_RETRY_SECONDS": "5"}, ""),
        ({"LEASE_RETRY_SECONDS": "5.1"}, "FRACTAL_LEASE_RETRY_SECONDS"),
    ],
)
def test_a_leader_stops_before_its_rival_begins_and_may_fail_once(
    terms: dict[str, str], wrong: str
) -> None:
    given = {f"FRACTAL_{name}": value for name, value in terms.items()}
    if wrong:
        (line,) = faults(given)
        assert line.startswith(f"{wrong} must be at most")
    else:
        load_settings(given)


@pytest.mark.parametrize("url", ["mysql://u:hunter2@db/x", "u:hunter2@db", "postgresql://"])
def test_a_secret_is_never_shown(url: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings({"FRACTAL_DATABASE_URL": url})
    (line,) = caught.value.lines
    assert "hunter2" not in line
    assert line.startswith("FRACTAL_DATABASE_URL: the value (not shown) is not allowed; allowed: ")
    assert caught.value.__cause__ is None
    good = load_settings({"FRACTAL_DATABASE_URL": "postgresql://u:hunter2@db/x"})
    assert "hunter2" not in repr(good)


def test_variables_of_a_service_beside_the_pod_are_no_settings() -> None:
    load_settings(
        {
            "FRACTAL_OPERATOR_SERVICE_HOST": "10.0.0.1",
            "FRACTAL_OPERATOR_SERVICE_PORT": "8080",
            "FRACTAL_OPERATOR_SERVICE_PORT_METRICS": "8080",
            "FRACTAL_OPERATOR_PORT": "tcp://10.0.0.1:8080",
            "FRACTAL_OPERATOR_PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "FRACTAL_OPERATOR_PORT_8080_TCP_ADDR": "10.0.0.1",
        }
    )


def test_every_setting_is_described() -> None:
    rows = list(describe())
    assert len(rows) == len(Settings.model_fields)
    for row in rows:
        assert row.description.endswith("."), row.variable
        assert row.allowed, row.variable
