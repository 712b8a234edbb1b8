"""The door: every command under one name.  Words go to stderr, results to stdout."""

import importlib.metadata
import sys
from typing import Annotated, NoReturn

import typer

from certify.commands import (
    cluster,
    evaluating,
    preparing,
    proving,
    running,
    steering,
    studying,
    watching,
)
from models.errors import CertifyError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def show_version(asked: bool) -> None:
    """Print the version and end, where it was asked for."""
    if asked:
        typer.echo(f"certify {importlib.metadata.version('certify-robustness')}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Image classifiers whose every prediction carries a proven L2 radius."""


for command in (
    running.submit,
    evaluating.evaluate,
    watching.status,
    watching.logs,
    watching.wait,
    steering.stop,
    steering.resume,
    steering.delete,
    proving.bound,
    preparing.init,
    preparing.model,
    preparing.doctor,
    preparing.report,
    proving.replay,
    proving.verify,
    studying.study,
):
    app.command()(command)
app.command("list")(watching.list_runs)
app.add_typer(cluster.app, name="cluster")


def main() -> NoReturn:
    """Run a command; a failure that is no bug is told in one line."""
    try:
        app()
    except CertifyError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    sys.exit(0)
