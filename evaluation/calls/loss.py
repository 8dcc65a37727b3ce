"""Calls over links that lose datagrams, with and without redundancy: picture error, freezes, rate.

    python -m fvc.evaluation.calls.loss CLIP... [--loss 0 5 10 20 30] [--redundancy 0 1 2 3] [--burst N] [--out DIR]

Each clip's motion is played as a call of `--minutes` over a simulated link (`evaluation/calls/channel.py`) with a
playout delay of one frame, for every loss and redundancy. Per setting, over all clips:

    kbps      on the wire, with IPv4 and UDP, without sound
    nme       mean distance of the landmarks tracked on the drawn and on the input picture, over the distance of the
              outer eye corners, in every tenth frame
    freeze    a picture that does not change although the sender saw a face: 95th percentile and longest, seconds
    outage    frames not drawn from their own integers, concealed or held: 95th percentile and longest, seconds

The same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.constants import UDP_IPV4_HEADER_BYTES
from fvc.codec.base.errors import FvcError
from fvc.codec.call.datagram import Packetizer
from fvc.codec.face.landmarks import landmark_error
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.motion.concealment import Shown
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import Packet
from fvc.codec.wire.container import has_face
from fvc.evaluation.calls.call import Talk, call, coded, load_talk, with_interval
from fvc.evaluation.calls.channel import Channel, Link


class LazyDraw:
    """A draw network that keeps its inputs, and draws and tracks the picture only when its landmarks are needed.

    Pictures are identified by their driving sample, so each is drawn once, however often a call shows it. (The recent
    positions are left out: they only affect pixels outside the head.)
    """

    def __init__(self, talk: Talk, tracker: FaceTracker) -> None:
        self._draw = talk.draw()
        self._tracker = tracker
        self._landmarks: dict[bytes, np.ndarray | None] = {}
        self._inputs: DrawInputs | None = None

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """Keeps the inputs; the picture is empty."""
        self._inputs = inputs
        return np.zeros((0, 0, 3), np.uint8)

    def landmarks(self) -> np.ndarray | None:
        """[33, 2] pixels, tracked on the last picture; None: no face in it."""
        assert self._inputs is not None
        key = b"".join(np.round(value, 4).tobytes() for value in self._inputs.parts.values())
        if key not in self._landmarks:
            face = self._tracker.track(self._draw(self._inputs))
            self._landmarks[key] = face.sup if face else None
        return self._landmarks[key]


@dataclass
class CallFigures:
    """Freezes, outages and landmark errors of one call. Lengths in frames."""

    freezes: list[int] = field(default_factory=list)
    outages: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    _freeze: int = 0
    _outage: int = 0

    def add(self, shown: Shown, face_sent: bool) -> None:
        """One frame."""
        self._freeze = _run(self._freeze, shown == Shown.HELD and face_sent, self.freezes)
        self._outage = _run(self._outage, shown != Shown.DECODED and face_sent, self.outages)

    def end(self) -> None:
        """Ends the current freeze and the current outage."""
        self.add(Shown.DECODED, True)


def _run(length: int, goes_on: bool, runs: list[int]) -> int:
    if goes_on:
        return length + 1
    if length:
        runs.append(length)
    return 0


@dataclass(frozen=True)
class Setting:
    """One point of the curves."""

    link: Link
    redundancy: int
    frames_per_datagram: int = 1
    spread: bool = False


def play_call(
    talk: Talk, draw: LazyDraw, packets: Sequence[Packet], setting: Setting, options: Any
) -> tuple[CallFigures, Channel]:
    """Plays one call."""
    header, figures = with_interval(talk.header, options.keyframe_interval), CallFigures()
    channel = Channel(setting.link, options.seed)
    packetizer = Packetizer(setting.redundancy, setting.frames_per_datagram, setting.spread)
    renderer = talk.renderer(draw)
    allowance = 3 * setting.link.jitter_ms / 1000
    for played in call(header, packets, packetizer, channel, renderer, options.delay, allowance):
        figures.add(played.decoder.shown, has_face(played.sent))
        if played.frame.index % options.every == 0:
            truth = talk.landmarks[talk.clip_frame(played.frame.index)]
            found = draw.landmarks() if truth is not None else None
            if truth is not None and found is not None:
                figures.errors.append(float(landmark_error(found, truth)))
    figures.end()
    return figures, channel


def row(setting: Setting, calls: Sequence[tuple[CallFigures, Channel]], seconds: float, fps: float) -> dict[str, Any]:
    """The figures of one setting; `seconds` is the length of each call."""
    freezes = [n / fps for figures, _ in calls for n in figures.freezes]
    outages = [n / fps for figures, _ in calls for n in figures.outages]
    sent = sum(channel.sent for _, channel in calls)
    wire = sum(channel.bytes + UDP_IPV4_HEADER_BYTES * channel.sent for _, channel in calls)
    return {
        "loss": round(100 * setting.link.loss, 2),
        "lost": round(100 * sum(channel.lost for _, channel in calls) / sent, 2),
        "redundancy": setting.redundancy,
        "kbps": round(8 * wire / seconds / len(calls) / 1000, 2),
        "nme": round(float(np.mean([np.mean(figures.errors) for figures, _ in calls])), 4),
        "freezes_per_minute": round(60 * len(freezes) / seconds / len(calls), 2),
        "freeze_p95": _p95(freezes),
        "freeze_max": round(max(freezes, default=0.0), 2),
        "outages_per_minute": round(60 * len(outages) / seconds / len(calls), 2),
        "outage_p95": _p95(outages),
        "outage_max": round(max(outages, default=0.0), 2),
        "frozen": round(100 * sum(freezes) / seconds / len(calls), 2),
        "not_decoded": round(100 * sum(outages) / seconds / len(calls), 2),
    }


def _p95(lengths: list[float]) -> float:
    return round(float(np.percentile(lengths, 95)), 2) if lengths else 0.0


def simulate(talks: Sequence[Talk], settings: Sequence[Setting], options: Any) -> list[dict[str, Any]]:
    """All settings over all clips; prints a row of a table for each."""
    fps = float(talks[0].header.fps)
    frames = round(60 * options.minutes * fps)
    with FaceTracker(still=True) as tracker:
        parts = []
        for talk in talks:
            header = with_interval(talk.header, options.keyframe_interval)
            parts.append((talk, LazyDraw(talk, tracker), list(islice(coded(talk, header, options.refresh), frames))))
        rows: list[dict[str, Any]] = []
        for setting in settings:
            calls = [play_call(*part, setting, options) for part in parts]
            rows.append(row(setting, calls, (frames - options.delay) / fps, fps))
            if len(rows) == 1:
                print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
            print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    return rows


def plot(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """NME, freezes and rate against loss, one curve for each redundancy, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(16, 4.2), constrained_layout=True)
    names = {
        "nme": "NME",
        "freeze_p95": "freeze, p95 (s)",
        "outage_p95": "outage, p95 (s)",
        "kbps": "wire rate (kbit/s)",
    }
    for axis, (key, name) in zip(axes, names.items(), strict=True):
        for redundancy in sorted({r["redundancy"] for r in rows}):
            points = sorted((r["loss"], r[key]) for r in rows if r["redundancy"] == redundancy)
            axis.plot(*zip(*points, strict=True), marker="o", label=f"{redundancy} copies")
        axis.set(xlabel="loss (%)", ylabel=name, ylim=(0, None))
        axis.grid(alpha=0.3)
        if key.endswith("p95"):
            axis.axhline(0.5, color="grey", linestyle=":", linewidth=1)
    axes[0].legend()
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--loss", type=float, nargs="+", default=[0, 5, 10, 20, 30], help="percent")
    parser.add_argument("--redundancy", type=int, nargs="+", default=[0, 1, 2, 3], help="copies of each frame")
    parser.add_argument("--burst", type=float, help="mean length of a loss in datagrams; default: independent losses")
    parser.add_argument("--spread", action="store_true", help="copies 1, 2, 4, 8 datagrams later")
    parser.add_argument("--frames-per-datagram", type=int, default=1)
    parser.add_argument("--jitter", type=float, default=10.0, help="mean, ms; the receiver waits three times that")
    parser.add_argument("--delay", type=int, default=1, help="playout delay in frames, 0 to 30")
    parser.add_argument("--keyframe-interval", type=float, default=1.0, help="seconds")
    parser.add_argument("--refresh", type=int, default=0, help="slices of a keyframe; 0: whole")
    parser.add_argument("--minutes", type=float, default=2.0, help="length of each call")
    parser.add_argument("--every", type=int, default=10, help="measure NME in every N-th frame")
    parser.add_argument("--profile", default="sup+unsup+expr", choices=[p.label for p in Profile])
    parser.add_argument("--fps", default="15")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for loss.png")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if not (0 <= options.delay <= 30 and 0.05 <= options.minutes <= 600 and options.every >= 1):
        parser.error("--delay must be 0 to 30, --minutes 0.05 to 600, --every at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    options = _options(arguments)
    try:
        settings = [
            Setting(
                Link(loss / 100, options.burst, jitter_ms=options.jitter),
                k,
                options.frames_per_datagram,
                options.spread,
            )
            for k in options.redundancy
            for loss in options.loss
        ]
        talks = [load_talk(clip, options.profile, options.fps) for clip in options.clips]
        rows = simulate(talks, settings, options)
    except FvcError as error:
        print(f"fvc: {error}", file=sys.stderr)
        return error.exit_code
    if options.out:
        how = "independent losses" if options.burst is None else f"bursts of {options.burst:g}"
        clips = ", ".join(clip.stem for clip in options.clips)
        plot(rows, options.out / "loss.png", f"{clips}: {options.profile}, {options.fps} fps, {how}")
    if options.json:
        options.json.write_text(json.dumps({"options": {k: str(v) for k, v in vars(options).items()}, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
