"""The command line: arguments, progress bars and reports. All work is done in `fvc.api`."""

from __future__ import annotations

import importlib
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from fvc._version import __version__
from fvc.cli.calls import register as register_calls
from fvc.cli.export import app as export_app
from fvc.cli.output import Bar, Force, Json, bit_rate, errors, note_line, show
from fvc.cli.training import extra, register
from fvc.codec.errors import FvcError, UsageError

app = typer.Typer(
    help="Ultra-low-bandwidth video chat: a talking face in a few kbit/s.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    ] = "sup",
    kbps: Annotated[
        float | None, typer.Option(help="Keep motion at or below this rate (kbit/s) in any two seconds; at least 0.5.")
    ] = None,
    quality: Annotated[
        float | None, typer.Option(help="Constant quality instead, 0 (smallest) to 100 (best). Default: 80.")
    ] = None,
    quantizer: Annotated[str, typer.Option(help="default, or paper: fine steps, nothing left out.")] = "default",
    keyframe_interval: Annotated[float, typer.Option(help="Seconds between keyframes; 0: only the first.")] = 5.0,
    refresh: Annotated[
        int,
        typer.Option(help="Cut keyframes into so many slices (2 to 16), one with each of as many frames; 0: whole."),
    ] = 0,
    audio_bitrate: Annotated[str, typer.Option(help="Opus bit rate, e.g. 6k or 24000.")] = "6k",
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    no_canvas: Annotated[
        bool, typer.Option("--no-canvas", help="Leave out the whole frame that `decode --canvas full` needs.")
    ] = False,
    source_frames: Annotated[
        int | None,
        typer.Option(help="How many source pictures, 1 to 8: more cost 3 kB each and draw better. Default: 3 to 6."),
    ] = None,
    source_bytes: Annotated[
        int | None, typer.Option(help="Most bytes of all source pictures, which get coarser to fit.", min=1)
    ] = None,
    preset: Annotated[str, typer.Option(help="Which networks: composed, or tiny, which draws faster.")] = "composed",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode a video of a talking face into a .fvc stream and its source frames.

    Files that exist are not replaced unless --force is given, and then only a .fvc and a .fvs.
    """
    from fvc import api
    from fvc.codec.media.video import label

    with Bar() as bar:
        report = api.encode(
            video,
            out,
            sources_out=sources_out,
            overwrite=force,
            fps=fps,
            profile=profile,
            quantizer=quantizer,
            quality=quality,
            kbps=kbps,
            keyframe_interval=keyframe_interval,
            refresh=refresh,
            audio_bitrate=None if no_audio else bit_rate(audio_bitrate),
            canvas=not no_canvas,
            source_frames=source_frames,
            source_bytes=source_bytes,
            preset=preset,
            note=note_line,
            progress=bar,
        )
    length = f"{report['duration_s']} s at {report['fps']} fps"
    show(
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


@app.command(
    epilog="Examples:  fvc decode talk.fvc   |   fvc decode talk.fvc --sources talk.fvs -o back.webm   |"
    "   fvc decode talk.fvc --sources a.png b.png -o back.mp4"
)
def decode(
    stream: Annotated[Path, typer.Argument(metavar="IN.fvc", help="The stream.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option(help="The stream's .fvs, or its source pictures, or a folder of them. Default: IN.fvs"),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="The video to write: .mp4, .mov, .mkv (H.264, AAC) or .webm (VP9, Opus). Default: IN.decoded.mp4",
        ),
    ] = None,
    canvas: Annotated[
        str, typer.Option(help="crop: the 256x256 face; full: pasted into the whole frame at the input's size.")
    ] = "crop",
    allow_foreign_sources: Annotated[
        bool, typer.Option("--allow-foreign-sources", help="Draw with sources that the stream was not made for.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Decode a .fvc stream into a video. One that exists is not replaced unless --force is given."""
    from fvc import api
    from fvc.codec.media.video import label

    if more and not sources:
        raise UsageError(f"{label(more[0])}: what is it? Say -o OUT.mp4 for the output, --sources FILE for sources")

    with Bar() as bar:
        report = api.decode(
            stream,
            [*sources, *(more or [])] if sources else None,
            out,
            overwrite=force,
            canvas=canvas,
            allow_foreign_sources=allow_foreign_sources,
            note=note_line,
            progress=bar,
        )
    held = f", {report['frames_held']} held" if report["frames_held"] else ""
    size = "x".join(map(str, report["size"]))
    line = f"{label(report['out'])}: {report['frames']} frames{held}, {report['duration_s']} s, {size}"
    show(report, as_json, [line])


@app.command(epilog="Example:  fvc info talk.fvc --json")
def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .fvc or .fvs, or a video from `fvc decode`.")],
    as_json: Json = False,
) -> None:
    """Say what a .fvc or .fvs file holds, or what a decoded video was made from."""
    from fvc import api

    report = api.info(file)
    show(report, as_json, [f"{name.replace('_', ' '):>22}  {value}" for name, value in report.items()])


register(app)
register_calls(app)
app.add_typer(export_app, name="export")


@app.command(epilog="Example:  fvc repair .talk.fvc.3f9ac201.part whole.fvc")
def repair(
    stream: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A .fvc that was cut off, or the .part file that a killed encoder left."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.fvc", help="The stream to write.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Give a stream that was cut off its end and index."""
    from fvc import api
    from fvc.codec.media.video import label

    report = api.repair(stream, out, overwrite=force)
    show(report, as_json, [f"{label(out)}: {report['frames']} frames, {report['bytes_dropped']} bytes dropped"])


@app.command(
    epilog="Example:  fvc evaluate composed --data data/ --metric-weights data/weights --profiles sup,sup+unsup+expr"
)
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
    fps: Annotated[str, typer.Option(help="Frames per second.")] = "15",
    profiles: Annotated[str, typer.Option(help="For presets without one, with commas, e.g. sup,sup+unsup.")] = "",
    every: Annotated[int, typer.Option(help="LPIPS, SSIM and networks look at every n-th frame.", min=1)] = 5,
    source_frames: Annotated[int | None, typer.Option(help="Source pictures of each clip, 1 to 8.")] = None,
    quantizer: Annotated[
        str, typer.Option(help="default, or paper: fine steps, nothing left out, nothing filtered.")
    ] = "default",
    limit: Annotated[int | None, typer.Option(help="Only the first so many clips, by name.", min=1)] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where tracking of the originals is kept. Default: the user's cache folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the clips of a split with one or more presets and say how good the pictures are (needs fvc[measure])."""
    from fvc.codec.media.video import label

    with extra("measure"):
        from fvc.evaluation.presets.evaluate import evaluate as run
        from fvc.evaluation.presets.figures import GROUP_TITLES, table

        for package in ("matplotlib",) * (out is not None) + ("torch",) * (metric_weights is not None):
            importlib.import_module(package)
    with Bar() as bar:
        result = run(
            presets or [],
            data,
            split=split,
            metric_weights=metric_weights,
            out=out,
            cache=cache,
            fps=fps,
            profiles=[name for name in profiles.split(",") if name],
            every=every,
            source_frames=source_frames,
            quantizer=quantizer,
            limit=limit,
            note=note_line,
            progress=bar,
        )
    lines = [f"{title}:\n{table(result, group)}\n" for group, title in GROUP_TITLES.items()]
    lines += [f"missing: {name} ({why})" for name, why in result.missing.items()]
    show(result.report(), as_json, lines if out is None else [*lines, f"{label(out)}: report.md, plots, strips/"])


@app.command(
    epilog="Examples:  fvc measure talk.mp4 --out report   |   fvc measure clips/ --metric-weights weights/ --jobs 2"
)
def measure(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos of talking faces, or folders of them.")],
    out: Annotated[
        Path,
        typer.Option(help="Folder for report.html, results.json, plots and videos: new, empty, or of an earlier run."),
    ] = Path("fvc-measure"),
    codecs: Annotated[
        str, typer.Option(help="What to compare with; the first is in the headline and the video.")
    ] = "x265,x265-ra,svtav1,x264,vp9",
    fps: Annotated[str, typer.Option(help="Frames per second of all systems.")] = "15",
    kbps: Annotated[str, typer.Option(help="Rates that the others are asked for, kbit/s.")] = "4,8,16,32,64",
    profiles: Annotated[
        str, typer.Option(help="Profiles of fvc; the first is compared with the others.")
    ] = "sup,sup+unsup+expr",
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
        int | None, typer.Option(help="Most bytes of all of them, as of fvc encode.", min=1)
    ] = None,
    jobs: Annotated[int, typer.Option(help="Clips at a time.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the decoded frames of all systems in OUT/frames.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Where encodes and metrics are kept. Default: the user's cache folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure bits and quality on your own videos against HEVC, AV1, H.264 and VP9 (needs fvc[measure])."""
    from fvc.codec.media.video import label

    with extra("measure"):
        from fvc.evaluation.compare.measure import measure as run

        for package in ("bjontegaard", "skimage") + ("torch",) * (metric_weights is not None):
            importlib.import_module(package)
    with Bar() as bar:
        results = run(
            inputs,
            out,
            codecs=_names(codecs),
            fps=fps,
            kbps=_numbers("--kbps", kbps),
            profiles=_names(profiles),
            metric_weights=metric_weights,
            every=every,
            effort=effort,
            seconds=seconds,
            frames_per_packet=frames_per_packet,
            source_frames=source_frames,
            source_bytes=source_bytes,
            jobs=jobs,
            keep=keep,
            cache=cache,
            command=shlex.join(["fvc", *sys.argv[1:]]),
            note=note_line,
            progress=bar,
        )
    show(results, as_json, [*results["headline"], f"{label(out)}: report.html, report.md, results.json"])


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in _names(text)]
    except ValueError:
        raise UsageError(f"{option} {text[:40]}: not numbers with commas between them") from None


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
        errors.print(f"fvc: {error}", markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
