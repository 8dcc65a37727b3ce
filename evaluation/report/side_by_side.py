"""The same moments of a clip by several systems: a strip of pictures, and a video with captions and the input's sound.

Panels: the input, ours, and the first anchor at our rate and at our quality.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fvc.codec.media.opus import RATE, OpusDecoder, encode_opus
from fvc.codec.media.video_writer import VideoWriter
from fvc.evaluation.metrics.catalog import CATALOG, compared_metrics
from fvc.evaluation.pictures import read_pictures
from fvc.evaluation.report.wording import rate

_BAR, _INK, _SOFT = (24, 27, 31), (255, 255, 255), (178, 186, 196)  # colours of captions: ground, title, facts
_MOMENTS = 6  # columns of the strip
_LINE, _FONT = 26, 15  # pixels: height of a line of caption, size of its type
_BITRATE = 96_000  # bit/s of the sound in the video


@dataclass(frozen=True)
class Panel:
    """One system's pictures of a clip.

    Attributes:
        title: name of the system; facts: its rate and quality, "" for the input.
        frames: file of its pictures, for `read_pictures`.
    """

    title: str
    facts: str
    frames: Path


def choose_panels(clip: dict[str, Any], anchor: dict[str, Any], folder: Path) -> list[Panel]:
    """The panels to show side by side. Systems without frames in `folder` are left out.

    Args:
        clip: an entry of results.json; anchor: the one to compare with (`rate_tables.first_anchor`).
    """
    points = [p for p in clip["points"] if _exists(folder, p.get("frames"))]
    panels = []
    if _exists(folder, clip.get("reference")):
        panels.append(Panel("input", "", folder / clip["reference"]))
    ours = next((p for p in points if p["system"] == "fvc"), None)
    if ours is None:
        return panels
    panels.append(Panel("fvc", _facts(ours), folder / ours["frames"]))
    theirs = [p for p in points if p["system"] == anchor["system"]]
    if not theirs:
        return panels
    name = anchor["codec"]
    near = _nearest(theirs, _kbps(ours))
    equal = _equal_quality(clip, anchor["system"])
    at_quality, title = near, ""
    if equal and equal["kbps"] is not None:
        at_quality, title = _nearest(theirs, equal["kbps"]), f"{name} at our quality"
    elif equal and (equal["note"] or "").startswith("not reached"):
        at_quality, title = max(theirs, key=_kbps), f"{name} at its best here"
    where = "at its floor" if near["is_floor"] else "at our rate"
    panels.append(Panel(f"{name} {where}", _facts(near), folder / near["frames"]))
    if at_quality is not near:
        panels.append(Panel(title, _facts(at_quality), folder / at_quality["frames"]))
    return panels


def _exists(folder: Path, name: str | None) -> bool:
    return bool(name) and (folder / str(name)).is_file()


def _nearest(points: list[dict[str, Any]], kbps: float) -> dict[str, Any]:
    return min(points, key=lambda p: abs(np.log(_kbps(p) / kbps)))


def _kbps(point: dict[str, Any]) -> float:
    """All bits."""
    return float(point["spans"]["whole"]["kbps"]["all"])


def _equal_quality(clip: dict[str, Any], system: str) -> dict[str, Any] | None:
    """The anchor's entry for the leading metric that was measured, against our first point in the whole clip."""
    found = [e for e in clip["equal_quality"] if (e["span"], e["system"]) == ("whole", system)]
    entries = {e["metric"]: e for e in found if e["ours"] == found[0]["ours"]}
    return next((entries[name] for name in compared_metrics() if name in entries), None)


def _facts(point: dict[str, Any]) -> str:
    metrics = point["spans"]["whole"]["metrics"]
    known = [name for name in compared_metrics() if metrics.get(name) is not None]
    quality = f", {CATALOG[known[0]].label} {CATALOG[known[0]].shown(metrics[known[0]])}" if known else ""
    return f"{rate(_kbps(point))} kbps{quality}"


def write_side_by_side(
    path: Path, panels: Sequence[Panel], fps: Fraction, count: int, sound: Path | None
) -> np.ndarray:
    """Writes an MP4 (H.264) of the panels side by side, captions above; returns a strip of six of its moments.

    Args:
        count: frames of each panel; sound: the file whose sound is used, if it has any.

    Returns:
        uint8 [H, W, 3]: a row for each panel, a column for each moment.

    Raises:
        FvcError: the file with the sound cannot be read, or `path` cannot be written; nothing is left there then.
        av.FFmpegError: frames cannot be read; nothing is left at `path` then.
    """
    streams = [read_pictures(panel.frames) for panel in panels]
    first = [next(stream) for stream in streams]
    height, side = first[0].shape[:2]
    captions = np.hstack([np.vstack([_bar(p.title, "", side), _bar("", p.facts, side)]) for p in panels])
    moments = np.unique(np.linspace(0, count - 1, _MOMENTS + 2)[1:-1].round().astype(int)).tolist()
    kept: list[np.ndarray] = []
    heard = _Sound(sound)
    with VideoWriter(path, side * len(panels), height + len(captions), fps, heard.rate, overwrite=True) as video:
        for index, pictures in enumerate(chain([first], zip(*streams, strict=False))):
            video.write(np.vstack([captions, np.hstack(pictures)]))
            for pcm in heard.until((index + 1) / fps):
                video.write_audio(pcm)
            if index in moments:
                kept.append(np.hstack(pictures))
    return _strip(panels, kept, [f"{index / float(fps):.1f} s" for index in moments])


def _strip(panels: Sequence[Panel], moments: list[np.ndarray], times: list[str]) -> np.ndarray:
    """The strip, made from [side, side * panels, 3] of each moment."""
    side = len(moments[0])
    rows = [np.hstack([_bar("", time, side) for time in times])]
    for n, panel in enumerate(panels):
        row = np.hstack([pictures[:, n * side : (n + 1) * side] for pictures in moments])
        rows += [_bar(panel.title, panel.facts, row.shape[1]), row]
    return np.vstack(rows)


class _Sound:
    """The sound of a video, if it has any, in pieces. `rate`: samples per second; None: silence."""

    def __init__(self, path: Path | None) -> None:
        coded = encode_opus(path, _BITRATE) if path is not None else None
        self.rate = RATE if coded else None
        self._packets = coded[1] if coded else iter(())
        self._decoder = OpusDecoder(coded[0]) if coded else None
        self._played = 0

    def until(self, seconds: Fraction) -> Iterator[np.ndarray]:
        """The sound up to then that was not returned yet, float32 `[n]`."""
        while self._decoder and self._played < seconds * RATE and (packet := next(self._packets, None)) is not None:
            pcm = self._decoder.decode(packet)
            self._played += len(pcm)
            yield pcm


def _bar(title: str, facts: str, width: int) -> np.ndarray:
    """A line of caption: a title in bold, and facts in grey. uint8 [26, width, 3]."""
    image = Image.new("RGB", (width, _LINE), _BAR)
    draw, x = ImageDraw.Draw(image), 8.0
    for text, font, colour in ((title, _font(True), _INK), (facts, _font(False), _SOFT)):
        if text:
            draw.text((x, _LINE / 2), text, colour, font, anchor="lm")
            x += font.getlength(text) + 12
    return np.asarray(image)


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), _FONT)
