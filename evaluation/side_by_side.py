"""The same moments of a clip by several systems: a strip of pictures, and a video with captions and the input's sound.

Columns: the input, ours, HEVC at our rate and HEVC at our quality, as far as they were measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fvc.codec.audio import RATE, OpusDecoder, encode_opus
from fvc.codec.output import VideoWriter
from fvc.evaluation.pictures import read_pictures
from fvc.evaluation.wording import metric_value, rate

HEVC = "x265"
_BAR, _INK, _SOFT = (24, 27, 31), (255, 255, 255), (178, 186, 196)
_LINE, _FONT = 26, 15  # pixels: height of a line of caption, size of its type
_SOUND = 96_000  # bit/s that the sound is carried at on its way into the video


@dataclass(frozen=True)
class Panel:
    """One system's pictures of a clip.

    Attributes:
        title: what it is; facts: its rate and quality, "" for the input.
        frames: file of its pictures, for `read_pictures`.
    """

    title: str
    facts: str
    frames: Path


def choose_panels(clip: dict[str, Any], folder: Path) -> list[Panel]:
    """What is worth seeing side by side, of one clip of results.json. Systems without frames are left out."""
    points = [p for p in clip["points"] if _exists(folder, p.get("frames"))]
    panels = []
    if _exists(folder, clip.get("reference")):
        panels.append(Panel("input", "", folder / clip["reference"]))
    ours = next((p for p in points if p["system"] == "fvc"), None)
    if ours is None:
        return panels
    panels.append(Panel("fvc", _facts(ours), folder / ours["frames"]))
    hevc = [p for p in points if p["system"] == HEVC]
    if not hevc:
        return panels
    near = _nearest(hevc, ours["kbps"]["video"])
    equal = _equal_quality(clip)
    at_quality, title = near, ""
    if equal and equal["kbps"] is not None:
        at_quality, title = _nearest(hevc, equal["kbps"]), "HEVC at our quality"
    elif equal and (equal["note"] or "").startswith("not reached"):
        at_quality, title = max(hevc, key=lambda p: p["kbps"]["video"]), "HEVC at its best here"
    name = "HEVC at its floor" if near["is_floor"] else "HEVC at our rate"
    panels.append(Panel(name, _facts(near), folder / near["frames"]))
    if at_quality is not near:
        panels.append(Panel(title, _facts(at_quality), folder / at_quality["frames"]))
    return panels


def _exists(folder: Path, name: str | None) -> bool:
    return bool(name) and (folder / str(name)).is_file()


def _nearest(points: list[dict[str, Any]], kbps: float) -> dict[str, Any]:
    return min(points, key=lambda p: abs(np.log(p["kbps"]["video"] / kbps)))


def _equal_quality(clip: dict[str, Any]) -> dict[str, Any] | None:
    """HEVC's entry for LPIPS; for NME where LPIPS was not measured."""
    entries = {e["metric"]: e for e in clip.get("equal_quality", []) if e["system"] == HEVC}
    has_lpips = any(p["metrics"].get("lpips") is not None for p in clip["points"])
    return entries.get("lpips" if has_lpips else "nme")


def _facts(point: dict[str, Any]) -> str:
    name = "lpips" if point["metrics"].get("lpips") is not None else "nme"
    label = {"lpips": "LPIPS", "nme": "NME"}[name]
    return f"{rate(point['kbps']['video'])} kbps, {label} {metric_value(name, point['metrics'].get(name))}"


def strip(panels: Sequence[Panel], fps: Fraction, count: int, moments: int = 6) -> np.ndarray:
    """A row for each panel and a column for each of `moments`, spread over `count` frames. uint8 [H, W, 3]."""
    shown = np.unique(np.linspace(0, count - 1, moments + 2)[1:-1].round().astype(int))
    rows = []
    for panel in panels:
        wanted = set(shown.tolist())
        pictures = [np.array(p) for n, p in enumerate(read_pictures(panel.frames)) if n in wanted]
        pictures += [np.zeros_like(pictures[0])] * (len(shown) - len(pictures))
        row = np.hstack(pictures)
        rows += [_caption([(panel.title, panel.facts)], row.shape[1]), row]
    times = [f"{index / float(fps):.1f} s" for index in shown]
    side = rows[1].shape[1] // len(shown)
    heading = np.hstack([_caption([(time, "")], side, soft=True) for time in times])
    return np.vstack([heading, *rows])


def compare_video(path: Path, panels: Sequence[Panel], fps: Fraction, sound: Path | None) -> None:
    """Writes an MP4 (H.264) of the panels beside each other under captions of two lines.

    Args:
        sound: the file whose sound is heard, if it has any.

    Raises:
        FvcError: the file with the sound cannot be read, or `path` cannot be written; nothing is left there then.
        av.FFmpegError: frames cannot be read; nothing is left at `path` then.
    """
    streams = [read_pictures(panel.frames) for panel in panels]
    heard = encode_opus(sound, _SOUND) if sound is not None else None
    first = [next(stream) for stream in streams]
    side = first[0].shape[1]
    lines = [[_caption([(text, "")], side, bool(n)) for n, text in enumerate((p.title, p.facts))] for p in panels]
    captions = np.hstack([np.vstack(pair) for pair in lines])
    width, height = side * len(panels), first[0].shape[0] + captions.shape[0]
    with VideoWriter(path, width, height, fps, RATE if heard else None) as video:
        decoder = OpusDecoder(heard[0]) if heard else None
        packets, played = iter(heard[1]) if heard else iter(()), 0
        for index, pictures in enumerate(_lockstep(first, streams)):
            video.write(np.vstack([captions, np.hstack(pictures)]))
            while decoder and played < (index + 1) / fps * RATE and (packet := next(packets, None)) is not None:
                pcm = decoder.decode(packet)
                video.write_audio(pcm)
                played += len(pcm)


def _lockstep(first: list[np.ndarray], streams: list[Iterator[np.ndarray]]) -> Iterator[list[np.ndarray]]:
    yield first
    for pictures in zip(*streams, strict=False):
        yield list(pictures)


def _caption(texts: list[tuple[str, str]], width: int, soft: bool = False) -> np.ndarray:
    """A bar with a title in bold (or, if `soft`, in grey) and what follows it. uint8 [26, width, 3]."""
    image = Image.new("RGB", (width, _LINE), _BAR)
    draw = ImageDraw.Draw(image)
    x = 8.0
    for title, facts in texts:
        for text, font, colour in ((title, _font(not soft), _SOFT if soft else _INK), (facts, _font(False), _SOFT)):
            draw.text((x, _LINE / 2), text, colour, font, anchor="lm")
            x += font.getlength(text) + 12
    return np.asarray(image)


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", name), _FONT)
