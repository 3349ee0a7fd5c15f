"""The command line: ``fractal-operator run | crds | migrate | uninstall-check | version``.

Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong settings or usage.
"""

import asyncio
import os
from importlib.metadata import version as installed_version
from typing import Annotated, NoReturn

import typer

from fractal_models import crd
from fractal_models.errors import FractalError
from fractal_operator.deadman import DeadMan
from fractal_operator.settings import BadSettings, Settings, load_settings

app = typer.Typer(
    help="Runs exactly one AWS ECS task for each FractalContainer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with locals would show secrets
)


@app.command()
def run() -> None:
    """Run the operator until it is told to stop. Settings: environment variables FRACTAL_*."""
    settings = _settings()
    # Imported here: the other commands need neither kopf nor boto3, and are ten times as fast.
    from fractal_operator.main import run as run_operator

    try:
        with DeadMan() as deadman:
            asyncio.run(run_operator(settings, deadman))
    except FractalError as error:
        _fail(str(error), code=1)


@app.command()
def crds(
    no_cel: Annotated[
        bool, typer.Option("--no-cel", help="For API servers before Kubernetes 1.25.")
    ] = False,
) -> None:
    """Print the CustomResourceDefinition as YAML, for `kubectl apply -f -`."""
    manifest = crd.crd()
    typer.echo(crd.render_yaml(crd.strip_cel(manifest) if no_cel else manifest), nl=False)


@app.command()
def migrate() -> None:
    """Bring the database of FRACTAL_DATABASE_URL to this release's schema."""
    url = _settings().database_url
    if url is None:
        _fail("FRACTAL_DATABASE_URL: not set, so there is nothing to migrate", code=2)
    from fractal_helpers.migrate import upgrade

    try:
        upgrade(url.get_secret_value())
    except FractalError as error:
        _fail(str(error), code=1)


@app.command()
def uninstall_check() -> None:
    """Fail while there are FractalContainers that only this operator can let go."""
    settings = _settings()
    from fractal_operator import uninstall

    try:
        names = asyncio.run(uninstall.in_use(settings.namespaces, settings.label_selector))
    except FractalError as error:
        _fail(uninstall.unknown(error), code=1)
    if names:
        _fail(uninstall.refusal(names, settings.label_selector), code=1)
    shard = f" with labels {settings.label_selector}" if settings.label_selector else ""
    typer.echo(f"No FractalContainer{shard} needs this operator any more.")


@app.command()
def version() -> None:
    """Print the release."""
    typer.echo(installed_version("fractal-operator"))


def main() -> None:
    """Run the command line; the console script ``fractal-operator``."""
    app()


def _settings() -> Settings:
    try:
        return load_settings(os.environ)
    except BadSettings as error:
        _fail(str(error), code=2)


def _fail(text: str, *, code: int) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(code)
