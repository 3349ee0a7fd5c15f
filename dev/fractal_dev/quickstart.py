"""What ``fractal-dev demo`` and ``fractal-dev up`` do."""

import fcntl
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from fractal_dev import demo, interrupts, landscape
from fractal_dev.show import Show
from fractal_dev.stack import Stack
from fractal_models.errors import FractalError

WORK = Path(".fractal-dev")
"""Everything that ``up`` keeps, below the current directory."""

_START_SECONDS = 30.0
_POLL = 0.2

MakeStack = Callable[[Path, Sequence[Mapping[str, Any]], str | None], Stack]


def read_manifests(folder: Path) -> list[dict[str, Any]]:
    """Return the manifests of all ``*.yaml`` in a folder, in the order of the files' names.

    Raises:
        FractalError: there are none.
    """
    paths = sorted(folder.glob("*.yaml"))
    found = [each for path in paths for each in yaml.safe_load_all(path.read_text()) if each]
    if not found:
        raise FractalError(f"no manifests (*.yaml) in {folder}: name their folder with --examples")
    return found


def run_demo(
    examples: Path,
    database_url: str | None,
    make_stack: MakeStack = Stack,
) -> bool:
    """Play the demo in a temporary directory and show it. Returns whether every promise held.

    No process and no file of it is left. Raises FractalError if it cannot even begin.
    """
    manifests, show = read_manifests(examples), Show()
    show.step("starting stand-ins for the Kubernetes API and ECS, and PostgreSQL …")
    with (
        _scratch() as directory,
        make_stack(directory, manifests, database_url) as stack,
    ):
        show.step(f"Kubernetes API (stand-in) {stack.kubectl.url}, ECS (stand-in) {stack.ecs_url}")
        where = "the one of FRACTAL_DATABASE_URL" if database_url else "a real one, embedded"
        show.step(f"PostgreSQL: {where}; migrated; the CRD is installed")
        held = demo.play(stack, show)
    return held


def run_up(examples: Path, database_url: str | None) -> None:
    """Run the same parts until the operator ends or KeyboardInterrupt comes.

    Raises:
        FractalError: it cannot begin, another one runs here, or the operator ended.
    """
    manifests, show = read_manifests(examples), Show()
    show.step(f"starting everything; what is kept is in {WORK}/ …")
    with _locked(WORK), Stack(WORK, manifests, database_url) as stack:
        stack.start_operator()
        deadline = time.monotonic() + _START_SECONDS
        while not stack.operator.ready():
            _check(stack)
            if time.monotonic() > deadline:
                raise FractalError(f"the operator is not ready after {_START_SECONDS:.0f} s")
            time.sleep(_POLL)
        show.step("everything runs. In another terminal:")
        psql = '"$FRACTAL_DATABASE_URL"' if database_url else f"'{_libpq(stack.database_url)}'"
        show.lines(_what_to_type(stack, examples, psql))
        while True:
            _check(stack)
            time.sleep(_POLL)


def _check(stack: Stack) -> None:
    code = stack.operator.ended()
    if code is not None:
        tail = "\n".join(stack.operator.tail(10))
        raise FractalError(f"the operator ended with exit code {code}; its log ends with\n{tail}")


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg2:", "postgresql:")


def _what_to_type(stack: Stack, examples: Path, psql: str) -> list[str]:
    hold = '{"operation": "RunTask", "phase": "after"}'
    end = '{"started_by": "fc/", "exit_code": 1}'
    mute = json.dumps({**landscape.EVENTS, "enabled": False})
    heard = json.dumps(landscape.EVENTS)
    return [
        "",
        f"  export KUBECONFIG={stack.kubeconfig}",
        f"  kubectl apply -f {examples}/        # no kubectl? scripts/get-kubectl.sh fetches one",
        "  kubectl get fc -w",
        '  kubectl patch fc ada-browser --type merge -p \'{"spec": {"dpi": 144}}\'',
        "  kubectl delete fc --all",
        "",
        f"  curl {stack.operator.url()}/metrics",
        f"  curl {stack.ecs_url}/_ecs/tasks      # every task there ever was, as ECS knows it",
        f"  curl {stack.ecs_url}/_ecs/holds -d '{hold}'      # keep back the next reply …",
        f"  curl {stack.ecs_url}/_ecs/release -d '{{}}'      # … and let it go",
        "",
        "  # Task events, told within a second. All tasks end, and are launched again:",
        f"  curl {stack.ecs_url}/_ecs/tasks/stop -d '{end}'",
        "  # No rule: within two minutes of a change sweeps take over, and the log says so …",
        f"  curl {stack.ecs_url}/_ecs/events -d '{mute}'",
        f"  curl {stack.ecs_url}/_ecs/events -d '{heard}'      # … and the rule is back",
        "",
        f"  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION={landscape.REGION}",
        # The CLI's first release, and boto3, know only this name of it.
        f"  export AWS_DEFAULT_REGION={landscape.REGION} AWS_ENDPOINT_URL={stack.ecs_url}",
        f"  aws ecs list-tasks --cluster {landscape.CLUSTER}",
        "",
        f"  psql {psql}      # what to ask: docs/queries.md",
        f"  tail -f {stack.log}",
        "",
        "Ctrl-C ends it all. Kubernetes and ECS forget everything then; PostgreSQL does not.",
    ]


@contextmanager
def _scratch() -> Iterator[Path]:
    with ExitStack() as parts:
        with interrupts.deferred():  # else a directory could be made that nobody removes
            folder = tempfile.TemporaryDirectory(prefix="fractal-demo-")
            directory = Path(parts.enter_context(folder))
        yield directory


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FractalError(f"another `fractal-dev up` runs in {directory.resolve()}") from None
        yield
