"""The commands `fvc encode`, `decode`, `info` and `repair`: file in, file out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fvc.cli.output import Bar, Face, Force, Json, bit_rate, note_line, show
from fvc.codec.base.errors import UsageError
from fvc.models.presets import DEFAULT
from fvc.models.weights import installed_presets

ENCODE = "fvc encode talk.mp4 talk.fvc   |   fvc encode talk.mkv t.fvc --fps 12 --profile sup --no-audio"
DECODE = """fvc decode talk.fvc   |   fvc decode talk.fvc --sources talk.fvs -o back.webm   |
fvc decode talk.fvc --sources a.png b.png -o back.mp4"""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=f"Examples:  {ENCODE}")(encode)
    app.command(epilog=f"Examples:  {DECODE}")(decode)
    app.command(epilog="Example:  fvc info talk.fvc --json")(info)
    app.command(epilog="Example:  fvc repair .talk.fvc.3f9ac201.part whole.fvc")(repair)


def _encoded(report: Mapping[str, Any], name: str, kbps: float | None) -> list[str]:
    """The lines of a report of `fvc.encode` about the stream `name`; `kbps`: the rate that was asked for."""
    from fvc.codec.media.video import label

    length = f"{report['duration_s']} s at {report['fps']} fps"
    layer = f"  layer    {report['layer_kbps']:7.3f} kbit/s  (AV1, {report['layer_side']} pixels)"
    total = f"  all      {report['total_kbps']:7.3f} kbit/s  (of {kbps})"
    return [
        f"{name}: {report['frames']} frames, {length}, {report['profile']}",
        f"  motion   {report['motion_kbps']:7.3f} kbit/s  ({report['motion_bits_per_frame']} bits per frame)",
        f"  packets  {report['packet_kbps']:7.3f} kbit/s  (motion with packet headers and checksums)",
        f"  audio    {report['audio_kbps']:7.3f} kbit/s",
        *([layer] if report["layer_side"] else []),
        f"  file     {report['file_kbps']:7.3f} kbit/s  ({report['file_bytes']} bytes)",
        f"{label(report['sources'])}: {report['sources_bytes']} bytes, sent once"
        f" (pictures {'+'.join(map(str, report['source_pictures_bytes']))}, canvas {report['canvas_bytes']})",
        *([total] if kbps is not None else []),
    ]


def encode(
    video: Annotated[Path, typer.Argument(metavar="IN", help="A video of a talking face; anything ffmpeg reads.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.fvc", help="The stream to write.")],
    sources_out: Annotated[
        Path | None, typer.Option(help="Where source frames go: a .fvs file, or a folder for PNGs. Default: OUT.fvs")
    ] = None,
    fps: Annotated[str, typer.Option(help="Frames per second of the stream, e.g. 15 or 30000/1001.")] = "15",
    profile: Annotated[
        str, typer.Option(help="What a frame carries: sup, sup+unsup, sup+unsup+expr, unsup+jac, ...")
    ] = "sup",
    kbps: Annotated[
        float | None,
        typer.Option(
            help="kbit/s of everything, pictures and sound too; what motion leaves is given to a video layer."
        ),
    ] = None,
    no_layer: Annotated[
        bool, typer.Option("--no-layer", help="With --kbps: source pictures alone, no video layer.")
    ] = False,
    motion_kbps: Annotated[
        float | None, typer.Option(help="Keep motion at or below this rate (kbit/s) in any two seconds; at least 0.5.")
    ] = None,
    quality: Annotated[
        float | None, typer.Option(help="Constant quality instead, 0 (smallest) to 100 (best). Default: 80.")
    ] = None,
    quantizer: Annotated[str, typer.Option(help="default, or paper: fine steps, nothing left out.")] = "default",
    keyframe_interval: Annotated[float, typer.Option(help="Seconds between keyframes; 0: only the first.")] = 5.0,
    refresh: Annotated[
        int,
        typer.Option(help="Cut keyframes into this many slices (2 to 16), each sent with another frame; 0: whole."),
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
    size: Annotated[
        int, typer.Option(help="Pixels of a side of what is drawn: 256, or 512 if the face in IN has as many.")
    ] = 256,
    face: Face = "moving",
    tracker: Annotated[
        str | None,
        typer.Option(help="What finds the face: mediapipe, own; auto (the default): mediapipe where installed."),
    ] = None,
    video_stream: Annotated[
        int | None, typer.Option(help="Which of the input's video streams, from 0. Default: as players choose.", min=0)
    ] = None,
    audio_stream: Annotated[
        int | None, typer.Option(help="Which of its audio streams, from 0. Default: as players choose.", min=0)
    ] = None,
    preset: Annotated[str, typer.Option(help=f"Which networks: {installed_presets()}.")] = DEFAULT,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode a video of a talking face into a .fvc stream and its source frames.

    Files that exist are not replaced unless --force is given, and then only a .fvc and a .fvs.
    """
    from fvc.codec.media.video import label
    from fvc.jobs.encode import encode as run

    with Bar() as bar:
        report = run(
            video,
            out,
            sources_out=sources_out,
            overwrite=force,
            fps=fps,
            profile=profile,
            quantizer=quantizer,
            quality=quality,
            kbps=kbps,
            layer=not no_layer,
            motion_kbps=motion_kbps,
            keyframe_interval=keyframe_interval,
            refresh=refresh,
            audio_bitrate=None if no_audio else bit_rate(audio_bitrate),
            canvas=not no_canvas,
            source_frames=source_frames,
            source_bytes=source_bytes,
            size=size,
            face=face,
            tracker=tracker,
            video_stream=video_stream,
            audio_stream=audio_stream,
            preset=preset,
            note=note_line,
            progress=bar,
        )
    show(report, as_json, _encoded(report, label(out), kbps))


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
        str,
        typer.Option(help="crop: the face, 256x256 or 512x512; full: pasted into the whole frame, as large as IN."),
    ] = "crop",
    allow_foreign_sources: Annotated[
        bool, typer.Option("--allow-foreign-sources", help="Draw with sources that the stream was not made for.")
    ] = False,
    relative_motion: Annotated[
        bool, typer.Option("--relative-motion", help="With foreign sources: keep the shape of their face.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Decode a .fvc stream into a video. One that exists is not replaced unless --force is given."""
    from fvc.codec.media.video import label
    from fvc.jobs.decode import decode as run

    if more and not sources:
        raise UsageError(f"{label(more[0])}: unexpected; say -o OUT.mp4 for the output, --sources FILE for sources")

    with Bar() as bar:
        report = run(
            stream,
            [*sources, *(more or [])] if sources else None,
            out,
            overwrite=force,
            canvas=canvas,
            allow_foreign_sources=allow_foreign_sources,
            relative_motion=relative_motion,
            note=note_line,
            progress=bar,
        )
    held = f", {report['frames_held']} held" if report["frames_held"] else ""
    size = "x".join(map(str, report["size"]))
    line = f"{label(report['out'])}: {report['frames']} frames{held}, {report['duration_s']} s, {size}"
    show(report, as_json, [line])


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .fvc or .fvs, or a video from `fvc decode`.")],
    as_json: Json = False,
) -> None:
    """Say what a .fvc or .fvs file holds, or what a decoded video was made from."""
    from fvc.jobs.inspect import info as run

    report = run(file)
    show(report, as_json, [f"{name.replace('_', ' '):>22}  {value}" for name, value in report.items()])


def repair(
    stream: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A .fvc that was cut off, or the .part file that a killed encoder left."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.fvc", help="The stream to write.")],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Complete a stream that was cut off: add its missing end and index."""
    from fvc.codec.media.video import label
    from fvc.jobs.repair import repair as run

    report = run(stream, out, overwrite=force)
    show(report, as_json, [f"{label(out)}: {report['frames']} frames, {report['bytes_dropped']} bytes dropped"])
