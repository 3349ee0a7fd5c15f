"""Whatever people write into objects: no line of the log is forged, no metric's label is theirs."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from tests.generated import cases, taken_without_cel
from tests.manifests import stored
from tests.unit.shell.process import Process, World
from tests.unit.shell.wire import run

from fractal_helpers import log
from fractal_helpers.log import Format, configure
from fractal_models.kube import ObjectKey

OBJECTS = 60
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z]+ +[a-z_.]+: ")
FORGERY = "x\n2026-01-01T00:00:00.000Z info fractal: forged\r\x1b[2J\u2028\u202e"


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    names = [None, *log._FLOORS]
    handlers, levels = root.handlers[:], [logging.getLogger(name).level for name in names]
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


def lived(count: int) -> Process:
    """An operator over so many generated objects, each with odd annotations."""
    world = World()
    process = Process(world)
    run(process.start())
    specs = [kept for spec in cases(2 * count, 99) if taken_without_cel(kept := stored(spec))]
    for number, spec in enumerate(specs[:count]):
        notes = {f"fractal.co/{name}": FORGERY for name in ("adopt", "restart-requested-at")}
        world.kube.create(ObjectKey("people", f"object-{number}"), spec, annotations=notes)
    for _ in range(3):
        run(process.settle())
        world.ecs.settle()
        world.clock.advance(60)
    return process


@pytest.mark.parametrize("layout", ["json", "text"])
def test_no_value_of_an_object_forges_a_line(layout: Format) -> None:
    stream = io.StringIO()
    configure(layout, logging.DEBUG, stream)
    lived(OBJECTS)
    logging.getLogger("fractal_operator").warning("the end of %s", FORGERY)
    lines = stream.getvalue().splitlines()  # at any line break that Unicode knows
    assert lines
    for line in lines:
        if layout == "json":
            assert json.loads(line)["logger"], line
        else:
            assert STAMP.match(line) or line.startswith("    "), line
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", stream.getvalue())


def test_labels_are_few_and_none_is_a_persons_own() -> None:
    few, many = labels(lived(10)), labels(lived(OBJECTS))
    assert len(many) < len(few) + 40
    for value in many:
        assert re.fullmatch(r"[A-Za-z0-9_.:+/-]{0,64}", value), value
        assert "object-" not in value
        assert value not in ("people", "ada@example.org", "c" * 350)


def labels(process: Process) -> set[str]:
    return {
        value
        for family in process.registry.collect()
        for sample in family.samples
        for value in sample.labels.values()
    }
