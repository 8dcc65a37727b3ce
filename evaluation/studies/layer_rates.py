"""What a video layer gains: LPIPS at several rates with every bit counted, against no layer and against AV1 alone.

    python -m fvc.evaluation.studies.layer_rates DIR --metric-weights FOLDER [--clips p133-0 ...] [--kbps 8 12 20 32]
        [--seconds 10] [--json OUT]

Runs `fvc encode --kbps N` with and without `--no-layer` (no sound, no canvas) and `fvc decode`; stream and source set
count. Of AV1 (SVT-AV1 low delay of the same crops, preset 4) the temporal delimiters do not count; its LPIPS at a rate
is interpolated over the logarithm of the rate between a few CRFs. LPIPS-squeeze of every tenth frame.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.codec.dataset import find_clips
from fvc.codec.face.crop import cut
from fvc.codec.media.video import VideoReader
from fvc.codec.wire.av1_video import VideoDecoder, encode_video
from fvc.codec.wire.bitstream import Crop
from fvc.evaluation import command
from fvc.evaluation.compare.excerpt import shortened
from fvc.evaluation.metrics.instruments import Lpips, Networks

_EVERY, _FPS = 10, Fraction(15)
_CRFS = (70, 64, 58, 52, 46, 40)
_PRESET = 4


def pictures_of(video: Path, crop: Crop | None) -> list[np.ndarray]:
    """All frames, cut to the crop where there is one, uint8 [256, 256, 3] each."""
    with VideoReader(video) as reader:
        return [frame.rgb if crop is None else cut(frame.rgb, crop) for frame in reader.frames(_FPS)]


def distance(lpips: Lpips, originals: Sequence[np.ndarray], shown: Sequence[np.ndarray]) -> float:
    """Mean LPIPS of every tenth frame."""
    pairs = list(zip(originals, shown, strict=False))[_EVERY // 2 :: _EVERY]
    return float(np.mean(np.concatenate([lpips([a], [b]) for a, b in pairs])))


def by_fvc(source: Path, folder: Path, kbps: float, has_layer: bool, lpips: Lpips) -> tuple[dict[str, Any], Crop]:
    """One encode and decode; its row, and the crop."""
    stream, back = folder / "a.fvc", folder / "a.mp4"
    told = ["--kbps", kbps, "--no-audio", "--no-canvas", "--force", *([] if has_layer else ["--no-layer"])]
    start = time.monotonic()
    sent, _ = command.run("encode", source, stream, *told)
    middle = time.monotonic()
    command.run("decode", stream, "--out", back, "--force")
    end = time.monotonic()
    crop = Crop(*sent["size"], **sent["crop"])
    names = ("total_kbps", "layer_kbps", "layer_side", "layer_crf", "sources_bytes")
    row = {name: sent[name] for name in names} | {"way": "layer" if has_layer else "none", "kbps": kbps}
    row["lpips"] = distance(lpips, pictures_of(source, crop), pictures_of(back, None))
    return row | {"encode_fps": sent["frames"] / (middle - start), "decode_fps": sent["frames"] / (end - middle)}, crop


def by_av1(originals: Sequence[np.ndarray], rates: Sequence[float], lpips: Lpips) -> list[dict[str, Any]]:
    """LPIPS of AV1 at these rates; below the lowest that it reaches, its LPIPS there."""
    points = []
    for crf in _CRFS:
        coded, decoder = encode_video(originals, crf, _FPS, _PRESET), VideoDecoder(256)
        rate = float(8 * sum(map(len, coded)) * _FPS / len(originals) / 1000)
        points.append((np.log(rate), distance(lpips, originals, [decoder.decode(data) for data in coded])))
    known, distances = np.array(points).T
    found = np.interp(np.log(rates), known, distances)
    return [{"way": "av1", "kbps": rate, "lpips": float(value)} for rate, value in zip(rates, found, strict=True)]


def measure(source: Path, rates: Sequence[float], lpips: Lpips) -> list[dict[str, Any]]:
    """All rows of a clip. A rate into which nothing fits has no row."""
    rows, crop = list[dict[str, Any]](), None
    with tempfile.TemporaryDirectory() as name:
        for kbps in rates:
            for has_layer in (True, False):
                try:
                    row, crop = by_fvc(source, Path(name), kbps, has_layer, lpips)
                except FvcError as error:
                    print(f"{source.stem}, {kbps:g} kbit/s: {error}", flush=True)
                    continue
                rows.append(row)
                print(source.stem, json.dumps(row), flush=True)
    if crop is not None:
        rows += by_av1(pictures_of(source, crop), rates, lpips)
    return rows


def show(clips: dict[str, list[dict[str, Any]]], rates: Sequence[float]) -> None:
    """A Markdown table of LPIPS: a line for each clip, then their mean."""
    ways = ("layer", "none", "av1")
    print("| clip | " + " | ".join(f"{rate:g}: layer, none, AV1" for rate in rates) + " |")
    print("|---" * (len(rates) + 1) + "|")
    table: dict[str, list[list[float]]] = {}
    for clip, rows in clips.items():
        known = {(row["kbps"], row["way"]): row["lpips"] for row in rows}
        table[clip] = [[known.get((rate, way), float("nan")) for way in ways] for rate in rates]
    if table:
        table["mean"] = np.nanmean(list(table.values()), 0).tolist()
    for clip, cells in table.items():
        print(f"| {clip} | " + " | ".join(", ".join(f"{value:.4f}" for value in cell) for cell in cells) + " |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric-weights", type=Path, required=True)
    parser.add_argument("--clips", nargs="+", help="names without ending; default: all")
    parser.add_argument("--kbps", type=float, nargs="+", default=[8, 12, 20, 32])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    lpips, found = Networks(args.metric_weights, instruments=False).lpips["lpips"], dict[str, Any]()
    for file in find_clips(args.folder.parent, args.folder.name):
        clip = Path(file.name).stem
        if args.clips and clip not in args.clips:
            continue
        with tempfile.TemporaryDirectory() as name:
            source = shortened(file.path, args.seconds, Path(name))
            found[clip] = measure(source, args.kbps, lpips)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1))
    show(found, args.kbps)


if __name__ == "__main__":
    main()
