"""Grids of pictures like the paper's figures, drawn through real packets, and the expression space of its figure 7.

    5   sources, driving, and each dense system       6   expression conditioning       8   mobile systems
    9   FOM mult at two neighbouring frames           10  Neural Talking Heads          11  Hybrid-SPADE
    12  cross-reenactment: sources of one person, motion of another                     19  mobile variants

Which frames are shown is decided by the input alone: those in which the head is turned farthest to either side, and the
one in the middle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.errors import InputError, OptionError
from fvc.codec.base.reporting import Note, silent
from fvc.codec.dataset import Clip, find_clips, open_clip
from fvc.codec.media.output import write_image
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import N_EXPRESSION, Profile
from fvc.codec.options import EncoderOptions
from fvc.evaluation.presets.strips import column
from fvc.evaluation.presets.systems import parse_systems
from fvc.evaluation.reproduction.available import system_of
from fvc.evaluation.reproduction.paper import TABLES, PaperRow
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel

_QUANTIZER = "paper"
_ENDS = (0.0, 1.0)  # values that a number of the code is set to
NEIGHBOURS, CROSS = 9, 12  # figures with frames or sources of their own


@dataclass(frozen=True)
class PaperFigure:
    """A figure: its caption in a few words, and the rows of tables whose systems it shows."""

    number: int
    title: str
    rows: tuple[PaperRow, ...]


FIGURES: dict[int, PaperFigure] = {
    figure.number: figure
    for figure in (
        PaperFigure(5, "dense systems", TABLES[1].rows),
        PaperFigure(6, "expression conditioning", TABLES[2].rows),
        PaperFigure(8, "mobile systems", TABLES[3].rows),
        PaperFigure(NEIGHBOURS, "FOM mult at neighbouring frames", (TABLES[5].rows[1], TABLES[5].rows[3])),
        PaperFigure(10, "Neural Talking Heads", (TABLES[5].rows[2], TABLES[5].rows[3])),
        PaperFigure(11, "Hybrid-SPADE", (TABLES[5].rows[4], TABLES[5].rows[5])),
        PaperFigure(CROSS, "cross-reenactment", (TABLES[5].rows[0], TABLES[5].rows[3])),
        PaperFigure(19, "mobile variants", (*TABLES[3].rows[:3], TABLES[7].rows[1])),
    )
}


class Drawing:
    """One system over one clip: what it draws for chosen frames, from its own sources or from those of another clip."""

    def __init__(self, clip: Clip, system: str, sources: int | None) -> None:
        [parsed] = parse_systems([system])
        options = EncoderOptions(
            fps=clip.rate, profile=parsed.profile.label, quantizer=_QUANTIZER, source_frames=sources
        )
        self.model, self._clip, self._profile = InstalledModel(parsed.weights), clip, parsed.profile
        self._run = SystemRun(clip.video, clip.tracked, self.model, options, filters={})
        self.sources = self._run.sources

    def inputs(self, frames: Sequence[int]) -> dict[int, DrawInputs | None]:
        """What the receiver would draw these frames from; all frames are sent."""
        found = {frame.index: self._run.send(frame) for frame, _ in self._clip.frames()}
        return {index: found[index] for index in frames}

    def draw(self, inputs: DrawInputs | None) -> np.ndarray:
        """uint8 [256, 256, 3]; grey where there was no face."""
        return np.full((256, 256, 3), 128, np.uint8) if inputs is None else self._run.renderer.draw(inputs)

    def draw_other(self, other: Drawing, inputs: DrawInputs | None) -> np.ndarray:
        """The same from the sources of another clip."""
        if inputs is None:
            return self.draw(None)
        renderer = self.model.renderer(other.sources, self._profile, self._clip.rate)
        return renderer.draw(inputs)


def chosen_frames(clip: Clip) -> list[int]:
    """The frames of the clip that grids show: turned farthest to either side, and the middle one of the tracked."""
    index, yaw = clip.seen.index, clip.seen.yaw
    return sorted({int(index[yaw.argmin()]), int(index[len(index) // 2]), int(index[yaw.argmax()])})


def figure_grid(figure: PaperFigure, clip: Clip, other: Clip | None = None) -> np.ndarray:
    """uint8 [H, W, 3]: driving frames in the first column, then each system that has weights.

    Args:
        other: whose sources cross-reenactment takes; used by figure 12 only.
    """
    frames = chosen_frames(clip)
    if figure.number == NEIGHBOURS:
        frames = [n for frame in frames[:2] for n in (frame, min(frame + 1, clip.seen.frames - 1))]
    originals = {frame.index: picture for frame, picture in clip.frames() if frame.index in frames}
    columns = [column("driving", [originals[n] for n in frames])]
    for row in figure.rows:
        if (system := system_of(row)) is None:
            continue
        drawing = Drawing(clip, system, row.sources)
        inputs = drawing.inputs(frames)
        if figure.number == CROSS and other is not None:
            donor = Drawing(other, system, row.sources)
            columns.append(column("source", [donor.sources.pictures[0]] * len(frames)))
            pictures = [drawing.draw_other(donor, inputs[n]) for n in frames]
        else:
            pictures = [drawing.draw(inputs[n]) for n in frames]
        columns.append(column(f"{system}, {row.sources}", pictures))
    return np.hstack(columns)


def write_figures(
    data: Path, out: Path, *, split: str = "val", clip: int = 0, cache: Path | None = None, note: Note = silent
) -> list[Path]:
    """Writes `out`/figure-N.png for each figure of which a system has weights here; returns the files.

    Args:
        clip: which clip of the split, by name; cross-reenactment takes the sources of the next one.

    Raises:
        FvcError: see `presets.evaluate.evaluate`.
    """
    files, keeper, written = find_clips(data, split), Cache(cache, note), []
    with contextlib.ExitStack() as stack:
        rate = EncoderOptions().rate
        opened, other = (stack.enter_context(open_clip(files[n % len(files)], rate, keeper)) for n in (clip, clip + 1))
        for figure in FIGURES.values():
            if not any(map(system_of, figure.rows)):
                continue
            path = out / f"figure-{figure.number}.png"
            write_image(path, figure_grid(figure, opened, other), overwrite=True)
            written.append(path)
    return written


def explore_expression(
    system: str,
    data: Path,
    out: Path,
    *,
    split: str = "val",
    clip: int = 0,
    cache: Path | None = None,
    overwrite: bool = False,
    note: Note = silent,
) -> np.ndarray:
    """The paper's figure 7: one frame of a clip, with each number of the expression code set to 0 and to 1.

    Args:
        system: preset, or `preset:profile` with a profile that has codes; default: its profile with most parts.
        clip: which clip of the split, by name.

    Returns:
        The grid that is written to `out`, uint8 [H, W, 3]: a row for e = 0 and one for e = 1; the input, the drawing
        from the code as sent, and 16 columns.

    Raises:
        OptionError: the profile has no codes. InputError, UsageError, OutputError: see `presets.evaluate.evaluate`.
    """
    name = system if ":" in system else f"{system}:{Profile.SUP_UNSUP_EXPR.label}"
    [parsed] = parse_systems([name])
    if "expr" not in parsed.profile.parts:
        raise OptionError("system", name, "its profile has no expression codes")
    files = find_clips(data, split)
    if not 0 <= clip < len(files):
        raise OptionError("clip", clip, f"there are {len(files)} clips, from 0")
    with open_clip(files[clip], EncoderOptions().rate, Cache(cache, note)) as opened:
        drawing = Drawing(opened, name, None)
        middle = chosen_frames(opened)[len(chosen_frames(opened)) // 2]
        inputs = drawing.inputs([middle])[middle]
        if inputs is None:
            raise InputError(f"{opened.name}: no face in frame {middle}")
        original = next(picture for frame, picture in opened.frames() if frame.index == middle)
    columns = [column("input", [original] * 2), column("as sent", [drawing.draw(inputs)] * 2)]
    for k in range(N_EXPRESSION):
        pictures = [drawing.draw(with_code(inputs, k, value)) for value in _ENDS]
        columns.append(column(f"e{k} = 0, 1", pictures))
    grid = np.hstack(columns)
    write_image(out, grid, overwrite)
    return grid


def with_code(inputs: DrawInputs, k: int, value: float) -> DrawInputs:
    """The inputs with number `k` of the expression code set to `value`."""
    code = np.array(inputs.parts["expr"], np.float32)
    code[k] = value
    return replace(inputs, parts={**inputs.parts, "expr": code})
