"""What commands say: progress bars and remarks on stderr, reports on stdout."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from fvc.codec.errors import UsageError

errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


class Bar:
    """A progress bar on stderr; nothing at all when that is not a terminal."""

    def __enter__(self) -> Bar:
        self._progress: Any = None
        self._stages: dict[str, Any] = {}
        if sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # slow to import

            stage, count = TextColumn("{task.description:>9}"), TextColumn("{task.completed:.0f}")
            columns = (stage, BarColumn(), count, TimeRemainingColumn())
            self._progress = Progress(*columns, console=errors, transient=True)
            self._progress.start()
        return self

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        """See `fvc.jobs.paths.Progress`."""
        if self._progress is None:
            return
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._stages[stage], completed=done, total=total)

    def __exit__(self, *exc: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def note_line(text: str) -> None:
    """A remark on stderr."""
    errors.print(f"note: {text}", markup=False)


def show(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """A report on stdout."""
    typer.echo(json.dumps(report) if as_json else "\n".join(lines))


def bit_rate(text: str) -> int:
    """ "6k" or "6000" -> bits per second. Raises UsageError."""
    try:
        return round(float(text[:-1]) * 1000 if text.lower().endswith("k") else float(text))
    except (ValueError, OverflowError):
        raise UsageError(f"--audio-bitrate {text}: not a bit rate; say 6k or 6000") from None


Force = Annotated[
    bool,
    typer.Option("--force", help="Replace an output that exists, if it is of the kind that is written."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
