"""The command line: arguments, progress bars and reports. All work is done in `fvc.api`."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fvc._version import __version__
from fvc.codec.errors import FvcError, InputError, UsageError

app = typer.Typer(
    help="Ultra-low-bandwidth video chat: a talking face in a few kbit/s.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


class _Bar:
    """A progress bar on stderr; nothing at all when that is not a terminal."""

    def __enter__(self) -> _Bar:
        stage, count = TextColumn("{task.description:>9}"), TextColumn("{task.completed:.0f}")
        columns = (stage, BarColumn(), count, TimeRemainingColumn())
        self._progress = Progress(*columns, console=_errors, disable=not sys.stderr.isatty(), transient=True)
        self._progress.start()
        self._stages: dict[str, Any] = {}
        return self

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._stages[stage], completed=done, total=total)

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()


def _note(text: str) -> None:
    _errors.print(f"note: {text}", markup=False)


def _show(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    typer.echo(json.dumps(report) if as_json else "\n".join(lines))


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command(
    epilog="Examples:  fvc encode talk.mp4 talk.fvc   |   fvc encode talk.mkv t.fvc --fps 12 --profile sup --no-audio"
)
def encode(
    video: Annotated[Path, typer.Argument(metavar="IN", help="A video of a talking face; anything ffmpeg reads.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.fvc", help="The stream to write.")],
    sources_out: Annotated[
        Path | None, typer.Option(help="Where source frames go: a .fvs file, or a folder for PNGs. Default: OUT.fvs")
    ] = None,
    fps: Annotated[str, typer.Option(help="Frames per second of the stream, e.g. 15 or 30000/1001.")] = "15",
    profile: Annotated[
        str, typer.Option(help="What a frame carries: sup, sup+unsup, sup+unsup+expr or unsup+jac.")
    ] = "sup+unsup+expr",
    keyframe_interval: Annotated[float, typer.Option(help="Seconds between keyframes; 0: only the first.")] = 5.0,
    audio_bitrate: Annotated[str, typer.Option(help="Opus bit rate, e.g. 6k or 24000.")] = "6k",
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    no_canvas: Annotated[
        bool, typer.Option("--no-canvas", help="Leave out the whole frame that `decode --canvas full` needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Encode a video of a talking face into a .fvc stream and its source frames."""
    from fvc import api
    from fvc.codec.video import label

    with _Bar() as bar:
        report = api.encode(
            video, out, sources_out=sources_out, fps=fps, profile=profile, keyframe_interval=keyframe_interval,
            audio_bitrate=None if no_audio else _bitrate(audio_bitrate), canvas=not no_canvas, note=_note, progress=bar,
        )  # fmt: skip
    length = f"{report['duration_s']} s at {report['fps']} fps"
    _show(
        report,
        as_json,
        [
            f"{label(out)}: {report['frames']} frames, {length}, {report['profile']}",
            f"  motion   {report['motion_kbps']:7.3f} kbit/s  ({report['motion_bits_per_frame']} bits per frame)",
            f"  packets  {report['packet_kbps']:7.3f} kbit/s  (motion with packet heads and checksums)",
            f"  audio    {report['audio_kbps']:7.3f} kbit/s",
            f"  file     {report['file_kbps']:7.3f} kbit/s  ({report['file_bytes']} bytes)",
            f"{label(report['sources'])}: {report['sources_bytes']} bytes, sent once"
            f" (pictures {'+'.join(map(str, report['source_pictures_bytes']))}, canvas {report['canvas_bytes']})",
        ],
    )


def _bitrate(text: str) -> int:
    try:
        return round(float(text[:-1]) * 1000 if text.lower().endswith("k") else float(text))
    except (ValueError, OverflowError):
        raise UsageError(f"--audio-bitrate {text}: not a bit rate; say 6k or 6000") from None


@app.command(
    epilog="Examples:  fvc decode talk.fvc --sources talk.fvs   |   fvc decode talk.fvc --sources a.png b.png -o o.mp4"
)
def decode(
    stream: Annotated[Path, typer.Argument(metavar="IN.fvc", help="The stream.")],
    sources: Annotated[
        list[Path], typer.Option(help="The stream's .fvs, or its source pictures, or a folder of them.")
    ],
    more: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The MP4 to write. Default: IN.mp4")] = None,
    canvas: Annotated[
        str, typer.Option(help="crop: the 256x256 face; full: pasted into the whole frame at the input's size.")
    ] = "crop",
    allow_foreign_sources: Annotated[
        bool, typer.Option("--allow-foreign-sources", help="Draw with sources that the stream was not made for.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Decode a .fvc stream into an MP4."""
    from fvc import api
    from fvc.codec.video import label

    with _Bar() as bar:
        report = api.decode(
            stream, [*sources, *(more or [])], out, canvas=canvas, allow_foreign_sources=allow_foreign_sources,
            note=_note, progress=bar,
        )  # fmt: skip
    held = f", {report['frames_held']} held" if report["frames_held"] else ""
    size = "x".join(map(str, report["size"]))
    line = f"{label(report['out'])}: {report['frames']} frames{held}, {report['duration_s']} s, {size}"
    _show(report, as_json, [line])


@app.command(epilog="Example:  fvc info talk.fvc --json")
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .fvc or .fvs, or a video from `fvc decode`.")],
    as_json: Json = False,
) -> None:
    """Say what a .fvc or .fvs file holds, or what a decoded video was made from."""
    from fvc import api

    report = api.info(file)
    _show(report, as_json, [f"{name.replace('_', ' '):>22}  {value}" for name, value in report.items()])


@app.command(epilog="Example:  fvc repair talk.fvc.part whole.fvc")
def repair(
    stream: Annotated[Path, typer.Argument(metavar="IN", help="A .fvc that was cut off, or its .part file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.fvc", help="The stream to write.")],
    as_json: Json = False,
) -> None:
    """Give a stream that was cut off its end and index."""
    from fvc import api
    from fvc.codec.video import label

    report = api.repair(stream, out)
    _show(report, as_json, [f"{label(out)}: {report['frames']} frames, {report['bytes_dropped']} bytes dropped"])


@app.command(epilog="Example:  fvc prepare tubes/train train.pack --per-person 40")
def prepare(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Square face clips, one person each, fixed crop.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.pack", help="The training pack to write.")],
    per_person: Annotated[int, typer.Option(help="Frames per person, so that nobody dominates.", min=4)] = 48,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
) -> None:
    """Track and pack a folder of face clips for training (needs fvc[train])."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    with _extra("train"):
        from fvc.training.prepare import prepare as run
    for name, count in run(folder, out, frames_per_person=per_person, workers=workers).items():
        typer.echo(f"{name:>24}  {count}")


@app.command(
    epilog="Example:  fvc train composed --data a.pack --val b.pack --perceptual lpips/ --minutes 90 --run runs/a"
)
def train(
    preset: Annotated[str, typer.Argument(help="composed or frontalizer-mobile.")],
    data: Annotated[Path, typer.Option(help="Training pack from `fvc prepare`.")],
    perceptual: Annotated[Path, typer.Option(help="Folder with load_lpips_squeeze.py and its weights.")],
    run: Annotated[Path, typer.Option(help="Folder of the run; a run that was stopped goes on from there.")],
    minutes: Annotated[float, typer.Option(help="How long to train, all stops not counted.", min=0.01)] = 90,
    val: Annotated[Path | None, typer.Option(help="Validation pack; its LPIPS is logged now and then.")] = None,
    batch: Annotated[int, typer.Option(min=1)] = 6,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Train a preset on a CPU or one GPU (needs fvc[train])."""
    from fvc.codec.tracking import SUP, SUP_MIRROR
    from fvc.models.presets import PRESETS

    if preset not in PRESETS:
        raise UsageError(f"preset {preset!r} is unknown; choose from {', '.join(PRESETS)}")
    for path in filter(None, (data, perceptual / "load_lpips_squeeze.py", val)):
        if not path.exists():
            raise InputError(f"{path}: no such file")
    with _extra("train"):
        from fvc.training.loop import Recipe
        from fvc.training.loop import train as work
    recipe = Recipe(preset, minutes, batch=batch, rate=rate, seed=seed)
    typer.echo(work(recipe, data, val, perceptual, run, SUP, SUP_MIRROR))


@contextlib.contextmanager
def _extra(name: str) -> Iterator[None]:
    """Says which extra to install when a package of it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise FvcError(f"{error.name} is not installed; pip install 'fvc[{name}]'") from None


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


def _terminated(number: int, _: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Entry point: one line on stderr and the error's exit code for everything that is the input's fault."""
    signal.signal(signal.SIGTERM, _terminated)  # so that half-written files are removed
    try:
        app()
    except FvcError as error:
        _errors.print(f"fvc: {error}", markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
