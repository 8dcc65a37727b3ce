"""Trains the rows of a manifest in turns, so that all get equal shares of their time, however often it is stopped.

    python -m fvc.training.queue rows.toml             # goes on until every row has its minutes
    python -m fvc.training.queue rows.toml --status    # a table of what each row has had so far

The manifest is TOML, and is read again before each turn, so rows can be added while the queue runs:

    folder = "runs"          # where each row's run has a folder of its own
    minutes = 40             # of training, for each row
    turn = 10                # minutes of one turn
    options = ["--data", "train.pack", "--perceptual", "lpips_squeeze", "--batch", "4"]   # of `fvc train`, all rows
    val = "val.pack"         # optional: validated at the end of a row
    keep = "/mnt/kept"       # optional: checkpoints are copied here after each turn, and taken from here if lost
    most_load = 1.5          # optional: a turn begins only while the machine's load is lower

    [rows.fom]
    preset = "fom@0.25"
    options = ["--sampling", "four"]
    minutes = 60             # optional
    after = "other"          # optional: begins when that row has its minutes, e.g. to start from its weights

The next turn belongs to the row with the smallest share of its minutes. What a row has had is read from its run's own
`log.jsonl`, so nothing can disagree with the checkpoints; `progress.json` in the folder sums it up after each turn. A
turn is `fvc train --segment`: it resumes to the step, at the lowest priority, on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PAPER_SAMPLES = 3_200_000  # of the paper's runs: 100,000 steps of 32
MOST_FAILURES = 2  # turns of a row that may fail before it is left out
KEPT = ("last.pt", "weights.safetensors", "log.jsonl", "strip.png")  # files of a run that are copied
_DONE = 0.99  # share of its minutes with which a row counts as finished
_WAIT = 20  # seconds until the load is looked at again


@dataclass(frozen=True)
class Row:
    """One run of the manifest."""

    name: str
    preset: str
    options: tuple[str, ...]
    minutes: float
    after: str | None = None


@dataclass(frozen=True)
class Manifest:
    """See the module. Paths are relative to the manifest's folder."""

    folder: Path
    turn: float
    rows: tuple[Row, ...]
    val: Path | None = None
    keep: Path | None = None
    most_load: float | None = None

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises ValueError for a file that is no manifest."""
        try:
            data = tomllib.loads(path.read_text())
            common, minutes = tuple(map(str, data.get("options", ()))), float(data.get("minutes", 40))
            rows = tuple(_row(name, row, common, minutes) for name, row in data["rows"].items())
            val, keep = (path.parent / data[name] if name in data else None for name in ("val", "keep"))
            folder, turn = path.parent / data.get("folder", "runs"), float(data.get("turn", 10))
            return cls(folder, turn, rows, val, keep, data.get("most_load"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a manifest ({error!r})") from None


def _row(name: str, row: Mapping[str, Any], common: tuple[str, ...], minutes: float) -> Row:
    options = (*common, *map(str, row.get("options", ())))
    return Row(name, str(row["preset"]), options, float(row.get("minutes", minutes)), row.get("after"))


@dataclass(frozen=True)
class Progress:
    """What a run has had so far; samples: steps times batch; val_lpips: the last one that was measured."""

    preset: str = ""
    minutes: float = 0.0
    steps: int = 0
    samples: int = 0
    val_lpips: float | None = None

    @classmethod
    def of(cls, run: Path) -> Progress:
        """From a run's log; that of a run which has not begun is empty."""
        log = run / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        if not lines:
            return cls()
        begun = next(line for line in lines if "recipe" in line)
        steps, minutes = lines[-1]["step"], lines[-1]["minutes"]
        samples = steps * begun["recipe"]["batch"] * begun["processes"]
        measured = [line["val_lpips"] for line in lines if "val_lpips" in line]
        return cls(begun["recipe"]["preset"], minutes, steps, samples, measured[-1] if measured else None)


def share_done(manifest: Manifest, row: Row) -> float:
    """The share of its minutes that a row has had."""
    return Progress.of(manifest.folder / row.name).minutes / row.minutes


def next_row(manifest: Manifest, failures: Mapping[str, int]) -> Row | None:
    """The row whose turn it is; None where all have their minutes, fail, or wait for one that fails."""
    shares = {row.name: share_done(manifest, row) for row in manifest.rows}
    waiting = [
        row
        for row in manifest.rows
        if failures.get(row.name, 0) < MOST_FAILURES
        and shares[row.name] < _DONE
        and (row.after is None or shares.get(row.after, 0.0) >= _DONE)
    ]
    return min(waiting, key=lambda row: shares[row.name], default=None)


def command(manifest: Manifest, row: Row) -> list[str]:
    """The command line of a row's next turn; the last one validates."""
    left = row.minutes - Progress.of(manifest.folder / row.name).minutes
    validation = ["--val", str(manifest.val)] if manifest.val and left <= manifest.turn else []
    fixed = ["--minutes", f"{row.minutes:g}", "--segment", f"{manifest.turn:g}"]
    run = ["--run", str(manifest.folder / row.name)]
    return [sys.executable, "-m", "fvc.training.generator.run", row.preset, *row.options, *fixed, *run, *validation]


def train_turn(command: list[str]) -> int:
    """Runs one turn at the lowest priority; returns its exit code. An interrupt ends the turn."""
    process = subprocess.Popen(command, preexec_fn=lambda: os.nice(19))
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _copy(source: Path, target: Path) -> None:
    """The files of a run from one folder to another, each in one move."""
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (source / name).exists():
            shutil.copy2(source / name, target / f"{name}.part")
            (target / f"{name}.part").replace(target / name)


def _restore(manifest: Manifest, row: Row) -> None:
    run = manifest.folder / row.name
    if manifest.keep and not (run / "last.pt").exists() and (manifest.keep / row.name).is_dir():
        _copy(manifest.keep / row.name, run)


def work(path: Path, turn: Callable[[list[str]], int] = train_turn, say: Callable[[str], None] = print) -> None:
    """Trains until all rows have their minutes. Raises ValueError for a file that is no manifest."""
    failures: dict[str, int] = {}
    while True:
        manifest = Manifest.read(path)
        for each in manifest.rows:
            _restore(manifest, each)
        row = next_row(manifest, failures)
        if row is None:
            return
        while manifest.most_load is not None and os.getloadavg()[0] >= manifest.most_load:
            time.sleep(_WAIT)
        before = Progress.of(manifest.folder / row.name)
        code = turn(command(manifest, row))
        after = Progress.of(manifest.folder / row.name)
        failed = code != 0 or after.minutes <= before.minutes
        failures[row.name] = failures.get(row.name, 0) + 1 if failed else 0
        say(f"{row.name}: {after.minutes:.1f} of {row.minutes:g} min, step {after.steps}, exit code {code}")
        if manifest.keep:
            _copy(manifest.folder / row.name, manifest.keep / row.name)
        _write_progress(manifest)


def _write_progress(manifest: Manifest) -> None:
    manifest.folder.mkdir(parents=True, exist_ok=True)
    progress = {row.name: asdict(Progress.of(manifest.folder / row.name)) for row in manifest.rows}
    (manifest.folder / "progress.json").write_text(json.dumps(progress, indent=1) + "\n")


def status(manifest: Manifest) -> str:
    """What each row has had, as a Markdown table."""
    lines = [
        "| row | preset | minutes | steps | samples | of the paper's 3.2 M | val LPIPS |",
        "|---|---|" + "---:|" * 5,
    ]
    for row in manifest.rows:
        had = Progress.of(manifest.folder / row.name)
        lpips = "" if had.val_lpips is None else f"{had.val_lpips:.4f}"
        share = f"{100 * had.samples / PAPER_SAMPLES:.2f} %"
        cells = [row.name, row.preset, f"{had.minutes:.1f} / {row.minutes:g}", had.steps, had.samples, share, lpips]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--status", action="store_true", help="print what each row has had, and train nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, which ends the turn as well
    try:
        if given.status:
            print(status(Manifest.read(given.manifest)))
        else:
            work(given.manifest, say=lambda text: print(text, flush=True))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
