"""What the model of the spec accepts, refuses and fills in."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.spec_cases import BAD, GOOD, Bad, definition, fargate, template

from fractal_models.container import InvalidSpec, Protocol, Spec, Timeouts, parse_spec
from fractal_models.spec_rules import FARGATE_CPU_UNITS

# AWS, "Task size" of Fargate, written out apart from the code: CPU units -> GiB.
FARGATE_GIB = {
    256: {0.5, 1, 2},
    512: {1, 2, 3, 4},
    1024: {2, 3, 4, 5, 6, 7, 8},
    2048: set(range(4, 17)),
    4096: set(range(8, 31)),
    8192: {16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60},
    16384: {32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120},
}


def refused(spec: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(spec)
    return caught.value.errors


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD.keys())
def test_a_good_spec_is_accepted(spec: dict[str, Any]) -> None:
    assert isinstance(parse_spec(spec), Spec)


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_spec_is_refused_with_the_place_or_the_rule(case: Bad) -> None:
    errors = refused(case.spec)
    assert any(case.says in error for error in errors)
    assert all(error.startswith("spec") for error in errors)


@pytest.mark.parametrize("cpu", [*FARGATE_GIB, 128, 3072, 32768])
def test_fargate_takes_the_pairs_that_aws_sells_and_no_other(cpu: int) -> None:
    def accepted(mib: int) -> bool:
        try:
            parse_spec(fargate(cpu, mib))
        except InvalidSpec:
            return False
        return True

    taken = {mib / 1024 for mib in range(512, 131072 + 1, 512) if accepted(mib)}
    assert taken == FARGATE_GIB.get(cpu, set())
    assert (cpu in FARGATE_CPU_UNITS) == (cpu in FARGATE_GIB)


def test_defaults_are_those_of_the_design() -> None:
    spec = parse_spec({"taskDefinition": "web"})
    assert spec.operating_mode == "Running"
    assert spec.restart_policy == "Always"
    assert spec.backoff_limit == 6
    assert spec.update_strategy == "Recreate"
    assert spec.deletion_policy == "Delete"
    assert spec.timeouts == Timeouts(
        provisioning_seconds=1800,
        start_seconds=600,
        lifetime_seconds=None,
        ttl_seconds_after_finished=None,
    )
    assert spec.enable_execute_command is False
    assert (spec.region, spec.cluster, spec.network, spec.placement) == ("", "", None, ())


def test_what_is_read_keeps_its_units_and_names() -> None:
    spec = parse_spec(GOOD["fargate-ladder"] | {"tags": {"team": "x"}, "dpi": 96})
    assert spec.template is not None
    assert (spec.template.memory_mib, spec.template.ephemeral_storage_gib) == (512, 200)
    assert [rung.wait_seconds for rung in spec.placement] == [60, None]
    assert spec.placement[0].capacity_provider == "FARGATE_SPOT"
    assert spec.placement[1].launch_type == "FARGATE"
    assert spec.network is not None
    assert spec.network.assign_public_ip == "Enabled"
    assert spec.tags == {"team": "x"}
    assert spec.needs_fargate


def test_the_protocol_of_a_port_is_tcp_unless_said() -> None:
    spec = parse_spec(GOOD["seed-ports"])
    assert spec.template is not None
    assert [(p.name, p.container_port, p.protocol) for p in spec.template.ports] == [
        ("control", 32262, Protocol.TCP),
        ("video", 32263, Protocol.UDP),
        ("input", 32273, Protocol.TCP),
    ]


def test_null_is_the_same_as_absent_everywhere() -> None:
    nulls = template(healthCheck=None) | {"placement": None, "timeouts": {"startSeconds": None}}
    nulls["template"]["secrets"] = None
    assert parse_spec(nulls) == parse_spec(template() | {"timeouts": {}})


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (definition(bogus=1), "spec.bogus: unknown field"),
        (template(cpu_units=256), "spec.template.cpu_units: unknown field"),
        (definition(region="x"), "spec.region: must be an AWS region such as us-east-1"),
        (
            definition(network={"subnets": ["subnet-1", "x"]}),
            "spec.network.subnets[1]: must be the id of a subnet: subnet-…",
        ),
        (
            definition(placement=[{"launchType": "EC2"}, {}]),
            "spec.placement[1]: exactly one of capacityProvider and launchType must be set",
        ),
    ],
)
def test_messages_name_the_place_in_the_words_of_the_manifest(
    spec: dict[str, Any], error: str
) -> None:
    assert refused(spec) == (error,)


def test_every_fault_is_told_at_once() -> None:
    errors = refused(template(cpuUnits=0, memoryMiB="x") | {"dpi": 0})
    assert [error.partition(":")[0] for error in errors] == [
        "spec.template.cpuUnits",
        "spec.template.memoryMiB",
        "spec.dpi",
    ]


@pytest.mark.parametrize("spec", [None, 7, "web", [], [{"taskDefinition": "web"}]])
def test_what_is_no_object_is_refused(spec: Any) -> None:
    assert refused(spec)


def test_values_do_not_leak_into_messages() -> None:
    secret = "hunter2 hunter2"
    bad = template(secrets=[{"name": "A", "valueFrom": secret}], image=secret)
    assert "hunter2" not in str(refused(bad))


def test_a_lone_surrogate_is_refused() -> None:
    assert refused(definition(user="\ud800"))


def test_a_spec_cannot_be_changed() -> None:
    spec = parse_spec({"taskDefinition": "web"})
    with pytest.raises(ValueError, match="frozen"):
        spec.user = "someone"  # type: ignore[misc]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
field_names = st.sampled_from(sorted(name for spec in GOOD.values() for name in spec))


@given(base=st.sampled_from(list(GOOD.values())), name=field_names, junk=json_values)
def test_junk_is_accepted_or_refused_but_never_raises_otherwise(
    base: dict[str, Any], name: str, junk: Any
) -> None:
    try:
        spec = parse_spec(base | {name: junk})
    except InvalidSpec:
        return
    data = spec.model_dump_json(by_alias=True, exclude_defaults=True)
    assert parse_spec(json.loads(data)) == spec
