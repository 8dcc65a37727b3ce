"""The commands `fvc evaluate` and `fvc measure`: quality of the pictures, and its cost in bits."""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from fvc.cli.output import Bar, Force, Json, extra, note_line, show
from fvc.codec.base.errors import OptionError

EVALUATE = "fvc evaluate composed --data data/ --metric-weights data/weights --profiles sup,sup+unsup+expr"
REPRODUCE = "fvc reproduce --table 3 --data data/ --metric-weights data/weights --out tables/ --jobs 2"
MEASURE = "fvc measure talk.mp4 --out report   |   fvc measure clips/ --metric-weights weights/ --jobs 2"

# Options of `fvc evaluate` and `fvc reproduce`
Every = Annotated[int, typer.Option(help="LPIPS, SSIM and networks look at every n-th frame.", min=1)]
Limit = Annotated[int | None, typer.Option(help="Only this many clips, the first by name.", min=1)]
Half = Annotated[str, typer.Option(help="first or second: only this half of the clips, by name.")]
MinTurn = Annotated[float, typer.Option(help="Radians over which a clip's yaw must range; DFDC-rotations: 1.5.", min=0)]
Jobs = Annotated[int, typer.Option(help="Clips at a time; finished ones are kept for the next run.", min=1)]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=f"Example:  {EVALUATE}")(evaluate)
    app.command(epilog=f"Examples:  {MEASURE}")(measure)
    app.command(epilog=f"Example:  {REPRODUCE}")(reproduce)
    app.command(epilog="Example:  fvc study answers/*.json")(study)
    app.command(epilog="Example:  fvc explore-expression composed --data data/ --out e.png")(explore_expression)


def evaluate(
    presets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET...]",
            help="PRESET, PRESET:PROFILE or a folder with exported weights. Default: all that are installed.",
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option(help="A folder that holds the split's folder of clips, and perhaps catalog.csv.")
    ] = Path("."),
    split: Annotated[str, typer.Option(help="The folder of clips within --data.")] = "val",
    metric_weights: Annotated[
        Path | None, typer.Option(help="Folder of networks (lpips_squeeze, ...). Default: metrics without networks.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.md, results.json, plots and picture strips: new, empty, or of an earlier run."
        ),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Folder for a page that asks people which drawing is better: new or empty.")
    ] = None,
    fps: Annotated[str, typer.Option(help="Frames per second.")] = "15",
    profiles: Annotated[
        str,
        typer.Option(help="For presets without one, with commas, e.g. sup,sup+unsup. Default: each preset's first."),
    ] = "",
    every: Every = 5,
    source_frames: Annotated[int | None, typer.Option(help="Source pictures of each clip, 1 to 8.")] = None,
    quantizer: Annotated[
        str, typer.Option(help="default, or paper: fine steps, nothing left out, nothing filtered.")
    ] = "default",
    limit: Limit = None,
    half: Half = "",
    min_turn: MinTurn = 0.0,
    jobs: Jobs = 1,
    backend: Annotated[str, typer.Option(help="process, or ray: a cluster (needs fvc[ray]).")] = "process",
    cache: Annotated[
        Path | None, typer.Option(help="Where tracking of the originals is kept. Default: the user's cache folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the clips of a split with one or more presets and say how good the pictures are (needs fvc[measure])."""
    from fvc.codec.media.video import label

    with extra("ray" if backend == "ray" else "measure"):
        from fvc.evaluation.presets.evaluate import evaluate as run
        from fvc.evaluation.presets.figures import shown_groups, table

        for package in ("matplotlib",) * (out is not None) + ("torch",) * (metric_weights is not None):
            importlib.import_module(package)
    with Bar() as bar:
        result = run(
            presets or [],
            data,
            split=split,
            metric_weights=metric_weights,
            out=out,
            study=study,
            cache=cache,
            fps=fps,
            profiles=[name for name in profiles.split(",") if name],
            every=every,
            source_frames=source_frames,
            quantizer=quantizer,
            limit=limit,
            half=half,
            min_turn=min_turn,
            jobs=jobs,
            backend=backend,
            note=note_line,
            progress=bar,
        )
    lines = [f"{title}:\n{table(result, group)}\n" for group, title in shown_groups(result).items()]
    lines += [f"missing: {name} ({why})" for name, why in result.missing.items()]
    show(result.report(), as_json, lines if out is None else [*lines, f"{label(out)}: report.md, plots, strips/"])


def explore_expression(
    system: Annotated[str, typer.Argument(metavar="PRESET[:PROFILE]", help="A system whose profile has codes.")],
    data: Annotated[Path, typer.Option(help="A folder that holds the split's folder of clips.")] = Path("."),
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("expression.png"),
    split: Annotated[str, typer.Option(help="The folder of clips within --data.")] = "val",
    clip: Annotated[str, typer.Option(help="The file of one of its clips. Default: the first.")] = "",
    cache: Annotated[
        Path | None, typer.Option(help="Where tracking is kept. Default: the user's cache folder.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw a frame with each number of its expression code at 0 and at 1, as the paper's figure 7."""
    from fvc.codec.media.video import label

    with extra("measure"):
        from fvc.evaluation.reproduction.pictures import explore_expression as run
    run(system, data, out, split=split, clip=clip, cache=cache, overwrite=force, note=note_line)
    typer.echo(f"{label(out)}: e0 to e15, at 0 above and at 1 below")


def study(
    answers: Annotated[list[Path], typer.Argument(metavar="JSON...", help="Answers that the page saved.")],
) -> None:
    """Count the answers of a study that `fvc evaluate --study` made: shares with 95 % intervals."""
    from fvc.evaluation.people.preferences import read_votes, table

    typer.echo(table(read_votes(answers)))


def reproduce(
    data: Annotated[
        Path, typer.Option(help="A folder that holds the split's folder of clips, and perhaps catalog.csv.")
    ] = Path("."),
    table: Annotated[list[int] | None, typer.Option(help="Number of a table, 1 to 7; may be repeated.")] = None,
    split: Annotated[str, typer.Option(help="The folder of clips within --data.")] = "val",
    metric_weights: Annotated[
        Path | None, typer.Option(help="Folder of networks (lpips_squeeze, ...). Default: metrics without networks.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables.md, reports, picture strips and figures.")] = None,
    clip: Annotated[str, typer.Option(help="The file of the clip that figures show. Default: the first.")] = "",
    every: Every = 10,
    limit: Limit = None,
    half: Half = "",
    min_turn: MinTurn = 0.0,
    jobs: Jobs = 1,
    backend: Annotated[str, typer.Option(help="process, or ray: a cluster (needs fvc[ray]).")] = "process",
    cache: Annotated[
        Path | None, typer.Option(help="Where results are kept. Default: the user's cache folder.")
    ] = None,
) -> None:
    """Print the paper's tables, its figures beside those of the weights that are here (needs fvc[measure])."""
    with extra("ray" if backend == "ray" else "measure"):
        from fvc.evaluation.reproduction.reproduce import reproduce as run

        for package in ("torch",) + ("matplotlib",) * (out is not None):
            importlib.import_module(package)
    with Bar() as bar:
        text = run(
            data,
            tables=table or (),
            split=split,
            metric_weights=metric_weights,
            out=out,
            limit=limit,
            half=half,
            min_turn=min_turn,
            every=every,
            jobs=jobs,
            backend=backend,
            cache=cache,
            clip=clip,
            note=note_line,
            progress=bar,
        )
    typer.echo(text)


def measure(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos of talking faces, or folders of them.")],
    out: Annotated[
        Path,
        typer.Option(help="Folder for report.html, results.json, plots and videos: new, empty, or of an earlier run."),
    ] = Path("fvc-measure"),
    codecs: Annotated[
        str,
        typer.Option(help="What to compare with, of svtav1,vvenc,x265,x265-ra,x264,vp9; the first is in the video."),
    ] = "svtav1,vvenc,x265",
    fps: Annotated[str, typer.Option(help="Frames per second of all systems.")] = "15",
    motion_kbps: Annotated[
        str, typer.Option(help="Further operating points of fvc: rates as of fvc encode, with commas, e.g. 0.6,2.")
    ] = "",
    profiles: Annotated[
        str, typer.Option(help="Profiles of fvc, e.g. sup,sup+unsup+expr; BD-rates are of the first.")
    ] = "sup",
    metric_weights: Annotated[
        Path | None, typer.Option(help="Folder of networks (lpips_squeeze, ...). Default: metrics without networks.")
    ] = None,
    every: Annotated[int, typer.Option(help="LPIPS, SSIM and networks look at every n-th frame.")] = 10,
    effort: Annotated[
        str, typer.Option(help="Preset of x265 and x264: veryslow, slower or slow (six times faster).")
    ] = "veryslow",
    seconds: Annotated[float | None, typer.Option(help="Measure only the first seconds of each clip.")] = None,
    frames_per_packet: Annotated[int, typer.Option(help="Frames in a datagram, for the rates on the wire.")] = 1,
    source_frames: Annotated[int | None, typer.Option(help="Source pictures of fvc, 1 to 8.")] = None,
    source_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of all source pictures, as in fvc encode.", min=1)
    ] = None,
    size: Annotated[
        int, typer.Option(help="Pixels of a side of all pictures: 256, or 512 (clips of smaller faces are left out).")
    ] = 256,
    jobs: Annotated[int, typer.Option(help="Clips at a time.")] = 1,
    backend: Annotated[str, typer.Option(help="process, or ray: a cluster (needs fvc[ray]).")] = "process",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the decoded frames of all systems in OUT/frames.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where encodes and metrics are kept. Default: the user's cache folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure bits and quality on your own videos against AV1, VVC, HEVC and others (needs fvc[measure])."""
    from fvc.codec.media.video import label

    with extra("ray" if backend == "ray" else "measure"):
        from fvc.evaluation.compare.measure import MeasureOptions
        from fvc.evaluation.compare.measure import measure as run

        for package in ("bjontegaard", "skimage", "imageio_ffmpeg") + ("torch",) * (metric_weights is not None):
            importlib.import_module(package)
    with Bar() as bar:
        options = MeasureOptions(
            codecs=_names(codecs),
            fps=fps,
            motion_kbps=_numbers("motion_kbps", motion_kbps),
            profiles=_names(profiles),
            metric_weights=metric_weights,
            every=every,
            effort=effort,
            seconds=seconds,
            frames_per_packet=frames_per_packet,
            source_frames=source_frames,
            source_bytes=source_bytes,
            size=size,
            jobs=jobs,
            backend=backend,
            keep=keep,
            cache=cache,
        )
        command = shlex.join(["fvc", *sys.argv[1:]])
        results = run(inputs, out, options, command=command, note=note_line, progress=bar)
    show(results, as_json, [*results["headline"], f"{label(out)}: report.html, report.md, results.json"])


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in _names(text)]
    except ValueError:
        raise OptionError(option, text[:40], "not a list of numbers separated by commas") from None
