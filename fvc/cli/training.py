"""The commands for training only: `fvc prepare`, `fvc train` and `fvc fit-priors`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from fvc.cli.output import Force, extra
from fvc.codec.base.errors import InputError, OptionError, UsageError

_PREPARE = """Examples:  fvc prepare VoxCeleb/ train.pack --max-mib 45   |   fvc prepare DFDC/ s0.pack --shard 0/8
--identity tube   |   fvc prepare --merge s0.pack s1.pack all.pack"""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(epilog=_PREPARE)(prepare)
    example = "Example:  fvc fit-priors tubes/train --cache tracks --out codec/motion/priors.bin --force"
    app.command(epilog=example)(fit_priors)
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=passed_on, add_help_option=False)(train)


def prepare(
    paths: Annotated[list[Path], typer.Argument(metavar="DIR OUT.pack", help="Folder of videos, and pack to write.")],
    per_person: Annotated[int, typer.Option(help="Frames per person at most, so that nobody dominates.", min=4)] = 48,
    max_mib: Annotated[float | None, typer.Option(help="Size limit: fewer frames per person until it fits.")] = None,
    quality: Annotated[int, typer.Option(help="Of the WebP pictures.", min=1, max=100)] = 85,
    fps: Annotated[int, typer.Option(help="How often per second a video is looked at.", min=1, max=60)] = 10,
    min_frames: Annotated[int, typer.Option(help="Frames of the video that a tube must have.", min=1)] = 90,
    max_frames: Annotated[
        int | None, typer.Option(help="Most frames of the video in a tube; the paper's DFDC-rotations: 350.", min=1)
    ] = None,
    min_side: Annotated[int, typer.Option(help="Pixels that the box around a head must have.", min=16)] = 96,
    min_turn: Annotated[
        float, typer.Option(help="Radians over which a tube's yaw must range; the paper's DFDC-rotations: 1.5.", min=0)
    ] = 0.0,
    identity: Annotated[
        str, typer.Option(help="auto: catalog.csv, VoxCeleb's id, or top folder; folder; tube: each tube is one.")
    ] = "auto",
    shard: Annotated[str, typer.Option(help="i/n: only the i-th (from 0) of n parts of the videos.")] = "0/1",
    merge: Annotated[bool, typer.Option("--merge", help="Join packs: fvc prepare --merge A B ... OUT.")] = False,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    backend: Annotated[str, typer.Option(help="process, or ray (needs fvc[ray]).")] = "process",
    keep_parts: Annotated[bool, typer.Option("--keep-parts", help="Keep OUT.parts/, to pack again later.")] = False,
    force: Force = False,
) -> None:
    """Find, track and pack the faces of a folder of videos for training (needs fvc[train]).

    A run that was stopped goes on from OUT.parts/ when it is started again.
    """
    from fvc.jobs.paths import file_path

    *inputs, out = paths
    file_path(out)
    if not inputs or (len(inputs) > 1 and not merge):
        raise UsageError("prepare: say DIR and OUT.pack, or --merge A B ... OUT.pack")
    limit = round(max_mib * 2**20) if max_mib else None
    with extra("ray" if backend == "ray" else "train"):
        from fvc.training.data.prepare import PrepareOptions, merge_packs
        from fvc.training.data.prepare import prepare as run

        if merge:
            report = merge_packs(inputs, out, per_person, limit, overwrite=force)
        else:
            if not inputs[0].is_dir():
                raise InputError(f"{inputs[0]}: no such folder")
            options = PrepareOptions(per_person, fps, quality, min_frames, min_side, min_turn, max_frames)
            report = run(
                inputs[0],
                out,
                options,
                max_bytes=limit,
                identity=identity,
                shard=_shard(shard),
                workers=workers,
                backend=backend,
                keep_parts=keep_parts,
                overwrite=force,
            )
    for name, count in report.items():
        typer.echo(f"{name:>44}  {count}")


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise OptionError("shard", text, "say i/n with 0 <= i < n")
    return int(index), int(count)


def train(context: typer.Context) -> None:
    """Train a preset on a CPU, a GPU or several machines (needs fvc[train]); see fvc train --help."""
    with extra("train"):
        from fvc.training.generator.run import main
    typer.echo(main(context.args))


def fit_priors(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Square face clips, one person each, fixed crop.")],
    out: Annotated[Path, typer.Option(help="The priors to write; codec/motion/priors.bin is part of the format.")],
    cache: Annotated[Path, typer.Option(help="Tracks are kept here for the next run.")] = Path("tracks"),
    preset: Annotated[str, typer.Option(help="The networks that find learned keypoints and codes.")] = "",
    seconds: Annotated[float, typer.Option(help="Most seconds of each person.", min=1)] = 60,
    half: Annotated[str, typer.Option(help="first or second: only this half of the clips, by name.")] = "",
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    force: Force = False,
) -> None:
    """Fit the priors of motion, `codec/motion/priors.bin`, to face clips (needs fvc[train])."""
    from fvc.codec.media.output import FileKind, atomic_write, check_output
    from fvc.codec.motion.priors import MAGIC
    from fvc.jobs.paths import file_path
    from fvc.models.presets import DEFAULT
    from fvc.models.weights import require_shipped

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    name = preset or DEFAULT
    require_shipped(name)
    kind = FileKind("a file of priors", (".bin",), ((0, MAGIC[:4]),))
    check_output(file_path(out), kind, force)  # before minutes of tracking
    with extra("train"):
        from fvc.codec.motion.rdo import DEFAULT_QUALITY
        from fvc.models.inference.tracks import track_folder
        from fvc.training.tables.priors import fit_priors as fit
        from fvc.training.tables.shape import coefficient_tracks
    tracks = track_folder(folder, cache, name, seconds, workers, half=half)
    if len({track.person for track in tracks}) < 12:
        raise InputError(f"{folder}: at least 12 people are needed")
    data = fit(tracks, coefficient_tracks(folder, seconds, cache, DEFAULT_QUALITY, half), typer.echo)
    with atomic_write(out, kind, force) as file:
        file.write(data)
    typer.echo(f"{out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
