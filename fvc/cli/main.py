"""The command line as a whole: its commands and exit codes.

Arguments and text are in the other files of this room; the work is done in `fvc.jobs`, `fvc.calls`, `fvc.evaluation`,
`fvc.training` and `fvc.export`.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from fvc.cli import calls, evaluation, export, files, training
from fvc.cli.output import say
from fvc.codec.base.errors import FvcError
from fvc.codec.base.version import __version__

app = typer.Typer(
    help="Ultra-low-bandwidth video chat: a talking face in a few kbit/s.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (files, calls, evaluation, training, export):
    room.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fvc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Ultra-low-bandwidth video chat: a talking face in a few kbit/s."""


def main() -> None:
    """Runs the command. An FvcError becomes one line on stderr and its exit code."""
    try:
        app()
    except FvcError as error:
        say(f"fvc: {error.on_command_line()}")
        sys.exit(error.exit_code)
