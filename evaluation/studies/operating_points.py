"""Bits and pictures at each quality of rate-distortion optimization, compared with those without quantization.

    python -m fvc.evaluation.studies.operating_points DIR --metric-weights FOLDER [--quality 62 65 ...]
        [--motion-kbps 0.5 ...] [--seconds 8] [--every 2] [--limit N] [--json OUT]

For each clip of DIR (profile `sup`, 15 fps, a keyframe every 5 s), source pictures are those of `fvc encode`, the same
for all rows. All frames of the first `--seconds` go through encoder, payloads and receiver; every n-th is drawn and
compared with the original crop:

    unquantized   the tracked landmarks themselves
    paper         `fvc encode --quantizer paper`: lightly filtered, the nearest integers
    quality Q     `fvc encode --quality Q`
    motion X      `fvc encode --motion-kbps X`

"distance" is that of the receiver's landmarks from the tracked ones, in pixels of 256. NME, eyes and mouth are those
of `evaluation.metrics`: the sender's tracker, on the drawn pictures and on the originals; flicker is between frames
that were drawn. Percentages are against `unquantized`, of the means over clips. Tracks are kept in `--cache`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.errors import FvcError
from fvc.codec.dataset import Clip, find_clips, open_clip, spaced
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder, Found
from fvc.codec.face.crop import to_crop
from fvc.codec.media.video import Frame
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.rdo import DEFAULT_QUALITY
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.options import EncoderOptions
from fvc.codec.renderer import Renderer
from fvc.codec.source_builder import stream_header
from fvc.codec.wire.bitstream import Header
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation.metrics.metrics import Metrics
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT

FPS = Fraction(15)
_KEYFRAME_SECONDS = 5.0
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_SHOWN = ("lpips", "nme", "eyes", "mouth", "flicker")


@dataclass(frozen=True)
class Point:
    """A row: how the clip is coded; `quantizer` None: not at all."""

    name: str
    quantizer: str | None = "default"
    quality: float | None = None
    motion_kbps: float | None = None

    def options(self, rate: Fraction) -> EncoderOptions:
        """The encoder's options; for "unquantized" the default ones."""
        steps = self.quantizer or "default"
        return EncoderOptions(fps=rate, quantizer=steps, quality=self.quality, motion_kbps=self.motion_kbps)


def points(qualities: Sequence[float], rates: Sequence[float]) -> list[Point]:
    """The rows of a run."""
    fixed = [Point("unquantized", None), Point("paper", "paper")]
    chosen = [Point(f"quality {quality:g}", quality=quality) for quality in qualities]
    return [*fixed, *chosen, *(Point(f"motion {rate:g}", motion_kbps=rate) for rate in rates)]


def received(
    clip: Clip, header: Header, renderer: Renderer, point: Point, frames: int
) -> tuple[list[DrawInputs], dict[str, float | None]]:
    """The receiver's draw inputs of the first frames, and "bits_per_frame", "motion_kbps", "distance", "skipped"."""
    tracked, cuts = clip.seen.sup_of(), set(clip.seen.cuts)
    sup = {index: to_crop(points, clip.crop) for index, points in tracked.items()}
    encoder = Encoder(header, None, plan=point.options(clip.rate).plan())
    decoder, shown = Decoder(header, renderer), list[DrawInputs]()
    distances, size = list[float](), 0
    for index in range(frames):
        if point.quantizer is not None:
            packet = encoder.encode(Frame(_NO_PIXELS, index), Found(tracked.get(index), index in cuts))
            size += len(packet.payload)
            decoder.put(packet)
            inputs = decoder.next(index)
        elif index in sup or not shown:
            sample = DrivingSample({"sup": sup[index]}) if index in sup else renderer.rest
            inputs = renderer.prepare(index, sample, index in cuts)
        else:
            inputs = None
        shown.append(inputs or shown[-1])
        if index in sup:
            distances.append(128 * float(np.linalg.norm(shown[-1].parts["sup"] - sup[index], axis=-1).mean()))
    bits = 8 * size / frames
    return shown, {
        "bits_per_frame": bits,
        "motion_kbps": bits * float(clip.rate) / 1000,
        "distance": float(np.mean(distances)) if distances else None,
        "skipped": encoder.skipped / frames,
    }


def measure(clip: Clip, rows: Sequence[Point], metrics: Metrics, frames: int, every: int) -> Iterator[dict[str, Any]]:
    """The rows of a clip."""
    model = InstalledModel(DEFAULT)
    chosen = model.source_builder(Profile.SUP).choose(clip.video, clip.tracked)
    sources = SourceSet.parse(bytes(chosen.source_set))  # as the receiver has it: its samples are rounded
    draw = model.renderer(sources, Profile.SUP, clip.rate).draw
    frames = min(frames, clip.seen.frames)
    originals = [crop for _, crop in islice(clip.frames(), 0, frames, every)]
    reference = metrics.reference(originals)
    for point in rows:
        options = point.options(clip.rate)
        header = stream_header(sources, clip.tracked, options.interval, options.quantizers)
        shown, rates = received(clip, header, Renderer(draw, sources.samples[0], clip.rate), point, frames)
        drawn = (draw(inputs) for inputs in shown[::every])
        row = metrics.compare(zip(originals, drawn, strict=True), reference)
        yield {"clip": clip.name, "point": point.name, "rotation": clip.rotation, **rates, **row}


def means(rows: Sequence[dict[str, Any]], name: str) -> dict[str, float]:
    """Value -> its mean over the clips of one row."""
    mine = [row for row in rows if row["point"] == name]
    values = ("bits_per_frame", "motion_kbps", "distance", "skipped", *_SHOWN)
    known = {value: [row[value] for row in mine if row[value] is not None] for value in values}
    return {value: float(np.mean(numbers)) if numbers else math.nan for value, numbers in known.items()}


def show(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """A Markdown table of means."""
    columns = ("bits/frame", "kbit/s", "worst", "distance", "LPIPS", "%", "NME", "%", "eyes", "mouth", "flicker")
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    base = means(rows, names[0])
    for name in names:
        mean = means(rows, name)
        worst = max(row["motion_kbps"] for row in rows if row["point"] == name)
        more = {value: 100 * (mean[value] / base[value] - 1) for value in ("lpips", "nme")}
        cells = [f"{mean['bits_per_frame']:.1f}", f"{mean['motion_kbps']:.3f}", f"{worst:.2f}"]
        cells += [f"{mean['distance']:.3f}", f"{mean['lpips']:.4f}", f"{more['lpips']:+.1f}"]
        cells += [f"{mean['nme']:.5f}", f"{more['nme']:+.1f}", f"{mean['eyes']:.4f}", f"{mean['mouth']:.4f}"]
        print(f"| {name} | " + " | ".join([*cells, f"{mean['flicker']:.2f}"]) + " |", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--quality", type=float, nargs="*", default=[DEFAULT_QUALITY])
    parser.add_argument("--motion-kbps", type=float, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--every", type=int, default=2, help="draw every n-th frame; default: %(default)s")
    parser.add_argument("--limit", type=int, help="at most this many clips, evenly spaced over the folder")
    parser.add_argument("--cache", type=Path, help="where tracks are kept; default: the platform's folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows, chosen = list[dict[str, Any]](), points(args.quality, args.motion_kbps)
    metrics, cache = Metrics(args.metric_weights, every=3, instruments=False), Cache(args.cache)
    metrics.networks.load()
    for file in spaced(find_clips(args.folder.parent, args.folder.name), args.limit):
        try:
            with open_clip(file, FPS, cache) as clip:
                rows += measure(clip, chosen, metrics, round(args.seconds * FPS), args.every)
        except FvcError as error:
            print(f"{file.name}: left out ({error})")
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    print(f"{len({row['clip'] for row in rows})} clips, first {args.seconds:g} s\n")
    show(rows, [point.name for point in chosen])


if __name__ == "__main__":
    main()
