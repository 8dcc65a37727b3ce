"""What do pictures of 512x512 gain over those of 256x256, enlarged, for which bytes?

    python -m fvc.evaluation.studies.sizes VIDEO... --metric-weights WEIGHTS [--every 5] [--seconds 8] [--json OUT]

Sends each video with both sizes, as `fvc encode --size` does, and compares what the receiver shows with the frames, cut
at 512x512: pictures of 256x256 are enlarged (bicubic) for that. "lpips 256" is of everything averaged down to 256x256.
Videos whose face has fewer than 512 pixels are named and left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.constants import LARGE_SIDE, SIDE, SIDES
from fvc.codec.face.crop import cut
from fvc.codec.media.resizing import resized
from fvc.codec.media.video import VideoReader
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import TrackedClip, track_video
from fvc.evaluation.metrics.metrics import Metrics
from fvc.evaluation.system_run import SystemRun
from fvc.models.inference.installed import InstalledModel

RATE = Fraction(15)
COLUMNS = ("lpips", "nme", "ssim", "psnr")


def compare(video: VideoReader, clip: TrackedClip, metrics: Metrics, frames: int) -> dict[int, dict[str, Any]]:
    """Side of the pictures -> bytes of the set, bits of motion per frame, metrics at 512 and LPIPS at 256."""
    model, rows = InstalledModel.named(), dict[int, dict[str, Any]]()
    for side in SIDES:
        run = SystemRun(video, clip, model, EncoderOptions(fps=RATE, size=side))
        pairs = list[tuple[np.ndarray, np.ndarray]]()
        for frame in video.frames(RATE, only=range(frames)):
            pairs.append((cut(frame.rgb, clip.crop, LARGE_SIDE), run.draw(frame)))
        found = metrics.compare((original, resized(drawn, LARGE_SIDE)) for original, drawn in pairs)
        small = [[resized(picture, SIDE) for picture in pair] for pair in pairs[:: metrics.every]]
        lpips = [float(metrics.networks.lpips["lpips"]([a], [b])[0]) for a, b in small]
        rows[side] = {
            "set_bytes": run.source_bytes,
            "motion_bits": round(8 * sum(run.payload_bytes) / run.frames, 2),
            **{name: found[name] for name in COLUMNS if name in found},
            "lpips_256": float(np.mean(lpips)),
        }
    return rows


def show(results: dict[str, dict[int, dict[str, Any]]]) -> None:
    """A Markdown table, means over the clips last."""
    names = list(next(iter(results.values()))[SIDE]) if results else []
    print("| clip | side | " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for clip, rows in results.items():
        for side, row in rows.items():
            print(f"| {clip} | {side} | " + " | ".join(_cell(row[name]) for name in names) + " |")
    for side in SIDES if results else ():
        means = [np.mean([rows[side][name] for rows in results.values()]) for name in names]
        print(f"| mean of {len(results)} | {side} | " + " | ".join(map(_cell, means)) + " |")


def _cell(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def run(paths: Sequence[Path], weights: Path, every: int, seconds: float) -> dict[str, dict[int, dict[str, Any]]]:
    """Name of each video of use -> its rows."""
    metrics, results = Metrics(weights, every, instruments=False), dict[str, dict[int, dict[str, Any]]]()
    for path in paths:
        with VideoReader(path) as video:
            clip = track_video(video, RATE)
            if clip.crop.side < LARGE_SIDE:
                print(f"{path.name}: a face of {clip.crop.side} pixels: left out", flush=True)
                continue
            results[path.stem] = compare(video, clip, metrics, min(clip.seen.frames, round(seconds * RATE)))
            print(f"{path.name}: {results[path.stem]}", flush=True)
    return results


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--metric-weights", type=Path, required=True, help="folder with LPIPS")
    parser.add_argument("--every", type=int, default=5, help="LPIPS looks at every n-th frame; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=8, help="of each video; default: %(default)s")
    parser.add_argument("--json", type=Path, help="where all figures go")
    args = parser.parse_args()
    results = run(args.videos, args.metric_weights, args.every, args.seconds)
    show(results)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
