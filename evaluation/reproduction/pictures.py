"""Grids of pictures like the paper's figures, drawn through real packets, and the expression space of its figure 7.

    5   sources, driving, each dense system           8   sources, driving, each mobile system, HEVC at 8 kbit/s
    6   expression conditioning                       9   FOM mult and ours at neighbouring frames, one below the other
    10  Neural Talking Heads and ours                 11  Hybrid-SPADE and ours
    19  mobile variants                               12  cross-reenactment: sources S1 and S2 of one person, motion of
                                                          another, FOM with S1, FOM with S2, ours with all sources

Which frames are shown is decided by the input alone: those in which the head is turned farthest to either side, and the
one in the middle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import InputError, OptionError
from fvc.codec.base.reporting import Note, silent
from fvc.codec.dataset import Clip, ClipFile, find_clips, open_clip
from fvc.codec.media.output import write_image
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import N_EXPRESSION, Profile
from fvc.codec.options import EncoderOptions
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.presets.strips import column
from fvc.evaluation.presets.systems import parse_systems
from fvc.evaluation.reproduction.available import system_of
from fvc.evaluation.reproduction.hevc import as_hevc
from fvc.evaluation.reproduction.paper import TABLES, PaperRow
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel
from fvc.models.weights import profiles as trained_profiles

_QUANTIZER = "paper"
_ENDS = (0.0, 1.0)  # values that a number of the code is set to
DENSE, MOBILE = 5, 8  # figures with a column of sources; that of mobile systems has one of HEVC too
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
        PaperFigure(DENSE, "dense systems", TABLES[1].rows),
        PaperFigure(6, "expression conditioning", TABLES[2].rows),
        PaperFigure(MOBILE, "mobile systems", TABLES[3].rows),
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
        return np.full((SIDE, SIDE, 3), 128, np.uint8) if inputs is None else self._run.renderer.draw(inputs)

    def draw_from(self, sources: SourceSet, inputs: Sequence[DrawInputs | None]) -> list[np.ndarray]:
        """The same of several frames, from the sources of another clip."""
        renderer = self.model.renderer(sources, self._profile, self._clip.rate)
        return [self.draw(None) if each is None else renderer.draw(each) for each in inputs]


def chosen_frames(clip: Clip) -> list[int]:
    """The frames of the clip that grids show: turned farthest to either side, and the middle one of the tracked."""
    index, yaw = clip.seen.index, clip.seen.yaw
    return sorted({int(index[yaw.argmin()]), int(index[len(index) // 2]), int(index[yaw.argmax()])})


def figure_grid(figure: PaperFigure, clip: Clip, other: Clip | None = None) -> np.ndarray:
    """uint8 [H, W, 3]: driving frames, then each system that has weights, a column each; see the module.

    Args:
        other: whose sources cross-reenactment takes; used by figure 12 only.
    """
    frames = chosen_frames(clip)
    if figure.number == NEIGHBOURS:
        frames = [n for frame in frames[:2] for n in (frame, min(frame + 1, clip.seen.frames - 1))]
    originals = {frame.index: picture for frame, picture in clip.frames() if frame.index in frames}
    driving = column("driving", [originals[n] for n in frames])
    if figure.number == CROSS and other is not None:
        return _beside(_cross(figure, clip, other, frames, driving))
    columns, shown = [driving], (0, np.zeros((0, SIDE, 3), np.uint8))
    for row, system in _drawn(figure):
        drawing = Drawing(clip, system, row.sources)
        inputs = drawing.inputs(frames)
        columns.append(column(f"{system}, {row.sources}", [drawing.draw(inputs[n]) for n in frames]))
        if row.sources > shown[0]:
            shown = row.sources, column("sources", drawing.sources.pictures)
    if figure.number in (DENSE, MOBILE):
        columns.insert(0, shown[1])
    if figure.number == MOBILE:
        columns += as_hevc(clip, frames)
    return _beside(columns)


def _drawn(figure: PaperFigure) -> Iterator[tuple[PaperRow, str]]:
    """The rows of a figure that have weights here, each with its system."""
    for row in figure.rows:
        if (system := system_of(row)) is not None:
            yield row, system


def _cross(
    figure: PaperFigure, clip: Clip, other: Clip, frames: Sequence[int], driving: np.ndarray
) -> list[np.ndarray]:
    """Columns: two sources, driving, then each system; one that has a single source draws from each of the two."""
    columns: list[np.ndarray] = []
    most = max(row.sources for row in figure.rows)
    for row, system in _drawn(figure):
        donor, drawing = Drawing(other, system, most).sources, Drawing(clip, system, row.sources)
        alone = [_only(donor, n) for n in range(min(2, len(donor.pictures)))]
        if not columns:
            columns = [column(f"S{n}", each.pictures * len(frames)) for n, each in enumerate(alone, 1)] + [driving]
        found = drawing.inputs(frames)
        inputs = [found[n] for n in frames]
        for n, sources in enumerate(alone if row.sources == 1 else [donor], 1):
            title = f"{system}, " + (f"S{n}" if row.sources == 1 else f"{len(donor.pictures)} sources")
            columns.append(column(title, drawing.draw_from(sources, inputs)))
    return columns


def _only(sources: SourceSet, n: int) -> SourceSet:
    """One of the sources."""
    one = slice(n, n + 1)
    return SourceSet(
        sources.profile, sources.model_hash, sources.coded[one], sources.pictures[one], sources.samples[one]
    )


def _beside(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns beside each other, white below the shorter ones."""
    height = max(len(each) for each in columns)
    padded = [np.pad(each, ((0, height - len(each)), (0, 0), (0, 0)), constant_values=255) for each in columns]
    return np.hstack(padded)


def position_of(files: Sequence[ClipFile], clip: str) -> int:
    """Which of the files is called so (`ClipFile.name`); the first where `clip` is empty. Raises OptionError."""
    names = [file.name for file in files]
    if clip and clip not in names:
        raise OptionError("clip", clip, "no clip of the split is called so")
    return names.index(clip) if clip else 0


def write_figures(
    data: Path, out: Path, *, split: str = "val", clip: str = "", cache: Path | None = None, note: Note = silent
) -> list[Path]:
    """Writes `out`/figure-N.png for each figure of which a system has weights here; returns the files.

    Args:
        clip: the file of a clip of the split; empty: the first. Cross-reenactment takes the sources of the next one.

    Raises:
        FvcError: see `presets.evaluate.evaluate`.
    """
    files, keeper, written = find_clips(data, split), Cache(cache, note), []
    first = position_of(files, clip)
    with contextlib.ExitStack() as stack:
        rate, shown = EncoderOptions().rate, (files[first], files[(first + 1) % len(files)])
        opened, other = (stack.enter_context(open_clip(file, rate, keeper)) for file in shown)
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
    clip: str = "",
    cache: Path | None = None,
    overwrite: bool = False,
    note: Note = silent,
) -> np.ndarray:
    """The paper's figure 7: one frame of a clip, with each number of the expression code set to 0 and to 1.

    Args:
        system: preset, or `preset:profile` with a profile that has codes; default: its profile with most parts.
        clip: the file of a clip of the split; empty: the first.

    Returns:
        The grid that is written to `out`, uint8 [H, W, 3]: a row for e = 0 and one for e = 1; the input, the drawing
        from the code as sent, and 16 columns.

    Raises:
        OptionError: the profile has no codes. InputError, UsageError, OutputError: see `presets.evaluate.evaluate`.
    """
    name = with_most_parts(system)
    [parsed] = parse_systems([name])
    if "expr" not in parsed.profile.parts:
        raise OptionError("system", name, "its profile has no expression codes")
    files = find_clips(data, split)
    with open_clip(files[position_of(files, clip)], EncoderOptions().rate, Cache(cache, note)) as opened:
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


def with_most_parts(system: str) -> str:
    """`preset:profile` of a preset: the one of its profiles that has most parts; with a profile, the same."""
    [parsed] = parse_systems([system])
    if parsed.name != Path(parsed.weights).name:  # it names its profile
        return system
    labels = trained_profiles(parsed.weights)
    return f"{system}:{max(labels, key=lambda label: len(Profile.named(label).parts))}"


def with_code(inputs: DrawInputs, k: int, value: float) -> DrawInputs:
    """The inputs with number `k` of the expression code set to `value`."""
    code = np.array(inputs.parts["expr"], np.float32)
    code[k] = value
    return replace(inputs, parts={**inputs.parts, "expr": code})
