"""The output of commands: progress bars and remarks on stderr, reports on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import typer

from fvc.cli import signals
from fvc.codec.base.errors import FvcError, OptionError, OutputError, in_flags


@cache
def _errors() -> Any:
    """stderr, shared by remarks and bars, so that a remark does not tear a bar."""
    from rich.console import Console  # slow to import, and most commands have nothing to say

    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(text: str) -> None:
    """Prints a line on stderr, verbatim; it is lost if that cannot be written (`fvc.cli.streams`)."""
    if sys.stderr is not None:
        _errors().print(text, markup=False)


class Bar:
    """A progress bar on stderr; nothing at all when that is not a terminal."""

    def __enter__(self) -> Bar:
        self._progress: Any = None
        self._stages: dict[str, Any] = {}
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # slow to import

            stage, count = TextColumn("{task.description:>9}"), TextColumn("{task.completed:.0f}")
            columns = (stage, BarColumn(), count, TimeRemainingColumn())
            self._progress = Progress(*columns, console=_errors(), transient=True)
            self._progress.start()
        return self

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        """See `fvc.codec.base.reporting.Progress`. A job whose signal was lost ends here."""
        signals.check()
        if self._progress is None:
            return
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._stages[stage], completed=done, total=total)

    def __exit__(self, *exc: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def note_line(text: str) -> None:
    """Prints a remark on stderr."""
    say(f"note: {in_flags(text)}")


def show(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Prints a report on stdout. Raises OutputError if it cannot be written (a full disk)."""
    try:
        typer.echo(json.dumps(report) if as_json else "\n".join(lines))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from None


def bit_rate(text: str) -> int:
    """ "6k" or "6000" -> bits per second. Raises OptionError."""
    try:
        return round(float(text[:-1]) * 1000 if text.lower().endswith("k") else float(text))
    except (ValueError, OverflowError):
        raise OptionError("audio_bitrate", text, "not a bit rate; say 6k or 6000") from None


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Says which extra to install when a package of it is missing. Raises FvcError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise FvcError(f"{error.name} is not installed; pip install 'fvc[{name}]'") from None


Force = Annotated[
    bool,
    typer.Option("--force", help="Replace an output that exists, if it is of the kind that is written."),
]
Face = Annotated[
    str,
    typer.Option(help="Which of several faces: moving (and talking), largest, left, right, or 1 to 4 from the left."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
