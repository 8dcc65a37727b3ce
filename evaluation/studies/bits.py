"""Bits of motion coders on the same integers, as in the paper's table 4.

    python -m fvc.evaluation.studies.bits DIR TRAIN_DIR | DIR --half
                                          [--cache DIR] [--profile P ...] [--unfiltered] [--json OUT]

All are lossless on the paper's quantizers at 15 fps with a keyframe every 75 frames, except `paper`, the figure
that the paper prints (on other clips). Samples are those of `fvc encode --quantizer paper`: the sender filters them
(`codec.motion.smoothing`), unless `--unfiltered` is given. Coders:

    static    the paper's method: differences, one fixed Laplace distribution for each part, fitted on the clips of
              TRAIN_DIR, or with --half on the first half of the clips, of which only the second is measured then;
              ideal code lengths, keyframes as plain bits, nothing for the ends of packets
    jvet      like the coder of the JVET software for generative faces, on these integers: differences, signs mapped,
              order-0 Exp-Golomb, adaptive arithmetic coding of the bits with one context, counts reset in each frame,
              an end symbol, whole bytes; otherwise ideal code lengths, keyframes as plain bits
    fvc       ours, with the priors of the format: bytes of real payloads, and the shares of keyframes, of each part and
              of the ends of packets
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.motion import coding
from fvc.codec.motion.entropy import RangeWriter, SymbolTables
from fvc.codec.motion.predictor import Context, MotionModel
from fvc.codec.motion.priors import PartPriors, load
from fvc.codec.motion.quantizer import PAPER
from fvc.codec.motion.sample import Profile
from fvc.codec.motion.smoothing import FILTERS
from fvc.models.inference.tracks import Track, track_folder
from fvc.models.presets import DEFAULT

GROUP = 75  # frames from one keyframe to the next
FPS = 15
PAPER_BITS = {"unsup+jac": 426, "sup": 264, "sup+unsup": 418, "sup+unsup+expr": 433}
BITS = {part: quantizer.bits for part, quantizer in PAPER.items()}


class _Meter(RangeWriter):
    """A RangeWriter that also sums ideal code lengths."""

    def __init__(self, tables: SymbolTables) -> None:
        super().__init__(tables)
        self.bits_of: dict[str, float] = defaultdict(float)

    def put(self, value: int, context: Context) -> None:
        """See `entropy.RangeWriter.put`."""
        self.bits_of[context.part] += self.tables.cost(value, context)
        super().put(value, context)


def ours(track: Track, parts: tuple[str, ...], priors: Mapping[str, PartPriors] | None = None) -> dict[str, float]:
    """Bits per frame: total, of keyframes, of each part in the other frames, and of the ends of packets.

    Args:
        priors: of each part; None: the format's.
    """
    known = priors or load()
    model, tables = MotionModel({part: BITS[part] for part in parts}, known), SymbolTables(known)
    sums = dict.fromkeys(("total", "key", *parts, "ends"), 0.0)
    frames = len(track.parts[parts[0]])
    for t in range(frames):
        integers, key = {part: track.parts[part][t].tolist() for part in parts}, t % GROUP == 0
        meter = _Meter(tables)
        coding.encode(model, coding.given(model, integers), meter, key)
        size, ideal = 8 * max(len(meter.finish()), 1), sum(meter.bits_of.values())
        sums["total"] += size
        sums["ends"] += size - ideal
        for part, bits in meter.bits_of.items():
            sums["key" if key else part] += bits
    return {name: value / frames for name, value in sums.items()}


def laplace_bits(arrays: Sequence[np.ndarray], bits: int) -> np.ndarray:
    """Code length of each size of difference, [2^bits], by a two-sided geometric distribution fitted to `arrays`.

    Args:
        arrays: integers [T, n], the frames of a clip each; bits: of their quantizer.
    """
    mean = np.concatenate([np.abs(np.diff(a, axis=0)).ravel() for a in arrays]).mean()
    theta = (math.sqrt(1 + mean**2) - 1) / mean  # maximum likelihood of p(k) ~ theta^|k|
    sizes = np.arange(1 << bits)
    return sizes * -math.log2(theta) - math.log2((1 - theta) / (1 + theta))


class Static:
    """The paper's method as far as it is described: one Laplace distribution of differences for each part."""

    def __init__(self, train: Sequence[Track]) -> None:
        self._cost = {part: laplace_bits([track.parts[part] for track in train], BITS[part]) for part in BITS}

    def bits(self, track: Track, parts: tuple[str, ...]) -> float:
        """Bits per frame."""
        total = 0.0
        for part in parts:
            x = track.parts[part]
            costs = self._cost[part][np.abs(np.diff(x, axis=0, prepend=x[:1]))].sum(1)
            costs[::GROUP] = BITS[part] * x.shape[1]
            total += float(costs.sum())
        return total / len(track.parts[parts[0]])


class AdaptiveSymbols:
    """Code length of an adaptive arithmetic coder of 0, 1 and the end symbol: order 0, counts start at 1."""

    def __init__(self) -> None:
        self._counts = [1, 1, 1]
        self.length = 0.0

    def code(self, symbol: int) -> None:
        """Codes 0, 1 or 2 (the end)."""
        self.length += math.log2(sum(self._counts) / self._counts[symbol])
        self._counts[symbol] += 1


def jvet(track: Track, parts: tuple[str, ...]) -> float:
    """Bits per frame of the coder like JVET's."""
    total, frames = 0, len(track.parts[parts[0]])
    for t in range(frames):
        if t % GROUP == 0:
            total += sum(BITS[part] * track.parts[part].shape[1] for part in parts)
            continue
        coder = AdaptiveSymbols()
        for part in parts:
            for change in (track.parts[part][t] - track.parts[part][t - 1]).tolist():
                mapped = 2 * change - 1 if change > 0 else -2 * change
                for bit in exp_golomb(mapped):
                    coder.code(bit)
        coder.code(2)
        total += 8 * math.ceil((coder.length + 1) / 8)  # an arithmetic coder needs about one bit more
    return total / frames


def exp_golomb(number: int) -> list[int]:
    """The order-0 code of a number >= 0: number + 1 in binary, after one zero for each of its bits but the first."""
    digits = [int(bit) for bit in f"{number + 1:b}"]
    return [0] * (len(digits) - 1) + digits


def report(tracks: Sequence[Track], train: Sequence[Track], profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """One row for each clip and profile, and one of means."""
    static = Static(train)
    rows: list[dict[str, Any]] = []
    for profile in profiles:
        mine: list[dict[str, Any]] = []
        for track in tracks:
            row: dict[str, Any] = {"profile": profile.label, "clip": track.clip}
            row["static"], row["jvet"] = static.bits(track, profile.parts), jvet(track, profile.parts)
            mine.append(row | ours(track, profile.parts))
        numbers = [name for name in mine[0] if name not in ("profile", "clip")]
        mean = {name: float(np.mean([row[name] for row in mine])) for name in numbers}
        rows += [*mine, {"profile": profile.label, "clip": "mean"} | mean]
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """A Markdown table; kbit/s are those of `total` at 15 fps."""
    names = ("static", "jvet", "total", "key", "sup", "unsup", "jac", "expr", "ends")
    print("| profile | clip | paper | " + " | ".join(names) + " | kbit/s |")
    print("|---|---|" + "---|" * (len(names) + 2))
    for row in rows:
        cells = [f"{row[name]:.1f}" if name in row else "" for name in names]
        paper = PAPER_BITS[row["profile"]] if row["clip"] == "mean" else ""
        rate = row["total"] * FPS / 1000
        print(f"| {row['profile']} | {row['clip']} | {paper} | {' | '.join(cells)} | {rate:.2f} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("train", type=Path, nargs="?", help="clips that the static coder is fitted on")
    halves = "fit on the first half of the clips of DIR by name, measure the second, as the paper's table 4"
    parser.add_argument("--half", action="store_true", help=halves)
    parser.add_argument("--cache", type=Path, default=Path("tracks"), help="tracks are kept here; default: %(default)s")
    parser.add_argument("--profile", nargs="+", default=[p.label for p in Profile], choices=[p.label for p in Profile])
    parser.add_argument("--unfiltered", action="store_true", help="code the samples as tracker and networks find them")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.half == (args.train is not None):
        parser.error("say TRAIN_DIR or --half")
    filters, (first, second) = {} if args.unfiltered else FILTERS, ("first", "second") if args.half else ("", "")
    tracks = track_folder(args.folder, args.cache, DEFAULT, math.inf, filters=filters, half=second)
    train = track_folder(args.train or args.folder, args.cache, DEFAULT, filters=filters, half=first)
    rows = report(tracks, train, [Profile.named(label) for label in args.profile])
    show(rows)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
