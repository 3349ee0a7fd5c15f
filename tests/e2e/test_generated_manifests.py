"""Generated manifests: the API server, the model and the stand-in agree on each.

What the server takes has to be what the model takes, and to mean the same once it is stored. Only a
server without CEL may take more: what only a CEL rule refuses, and null as an item of a command
(such a server cannot tell it from an empty string). The operator refuses that: condition Stalled.
No server may refuse what the model takes.

GENERATED_SEED=n makes other manifests, GENERATED_CASES=n more of them. The stand-in gets few: its
validation is compared in tests/unit/test_generated_manifests.py.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client
from tests.e2e.api import GIVEN, Api
from tests.generated import cases, refusal, taken_without_cel
from tests.manifests import NO_CEL_ROOT, ROOT, encode, is_json, manifest, read, stored

from fractal_models.container import parse_spec
from fractal_models.kube import GROUP, PLURAL, VERSION
from fractal_operator.core import tokens

CASES = int(os.environ.get("GENERATED_CASES") or (5000 if GIVEN else 500))
SEED = int(os.environ.get("GENERATED_SEED", "1"))
PARTS = 5
"""Tests that share the cases, so that workers can."""
THREADS = 8


@dataclass(frozen=True)
class Answer:
    """What a server said to a manifest: the spec that it would store, or why not."""

    spec: Any = None
    refused: str = ""


Ask = Callable[..., list[Answer]]


@pytest.fixture
def ask(api: Api, namespace: str) -> Iterator[Ask]:
    """Sends specs as dry runs; ``strict``: unknown fields are to be refused."""
    with api.client() as connection, ThreadPoolExecutor(THREADS) as threads:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}?dryRun=All"

        def one(spec: Any, *, strict: bool) -> Answer:
            query = f"{path}&fieldValidation={'Strict' if strict else 'Ignore'}"
            return posted(connection, query, encode(manifest(spec)))

        yield lambda specs, strict=False: [
            *threads.map(lambda spec: one(spec, strict=strict), specs)
        ]


def posted(connection: client.ApiClient, path: str, body: bytes) -> Answer:
    headers = {"Content-Type": "application/json"}
    connection.update_params_for_auth(headers, [], ["BearerToken"], path, "POST", body)
    url = f"{connection.configuration.host}{path}"
    pool = connection.rest_client.pool_manager
    answer = pool.request("POST", url, body=body, headers=headers)
    told = json.loads(answer.data)
    if answer.status == 201:
        return Answer(spec=told["spec"])
    assert answer.status in (400, 422), (answer.status, told)
    return Answer(refused=told["message"])


def disagreement(api: Api, spec: Any, answer: Answer) -> str:
    """How server and model differ about a spec, in words; "" if they do not."""
    kept = stored(spec)
    refused = ("no JSON",) if not is_json(spec) else errors(kept)
    if answer.refused:
        if "expected int, got float64 evaluating rule" in answer.refused and "." in repr(spec):
            return ""  # 1.0 for 1 in a field that a CEL rule reads; the model, too, wants integers
        return "" if refused else f"the server alone refuses it: {answer.refused[:500]}"
    if refused and (api.cel or not taken_without_cel(kept)):
        return f"the model alone refuses it: {refused}"
    if answer.spec != stored(spec, ROOT if api.cel else NO_CEL_ROOT):
        return f"the stand-in stores it otherwise: {answer.spec}"
    if not refused and parse_spec(answer.spec) != parse_spec(kept):
        return f"it means something else there: {answer.spec}"
    same = tokens.spec_hash(answer.spec) == tokens.spec_hash(kept)
    return "" if same else "it has another hash there"


def errors(spec: Any) -> tuple[str, ...]:
    refused = refusal(spec)
    return refused.errors if refused else ()


@pytest.mark.parametrize("part", range(PARTS))
def test_a_server_takes_what_the_model_takes(api: Api, ask: Ask, part: int) -> None:
    specs = cases(CASES // PARTS, SEED * PARTS + part)
    answers = ask(specs)
    found = [
        (words, encode(spec)[:3000])
        for spec, answer in zip(specs, answers, strict=True)
        if (words := disagreement(api, spec, answer))
    ]
    assert not found, (len(found), found[:5])
    taken = sum(not answer.refused for answer in answers) / len(answers)
    assert 0.3 < taken < 0.8  # else the cases say little


def test_a_server_that_is_asked_to_be_strict_refuses_unknown_fields_as_the_model_does(
    api: Api, ask: Ask
) -> None:
    specs = [spec for spec in cases(1000, SEED) if is_json(spec)]
    unknown = [read(spec) for spec in specs if taken(stored(spec)) and not taken(read(spec))]
    assert unknown
    answers = ask(unknown, strict=True)
    if api.version >= (1, 27):  # where servers know fieldValidation for sure
        assert [answer.spec for answer in answers if not answer.refused] == []


def taken(spec: Any) -> bool:
    return refusal(spec) is None
