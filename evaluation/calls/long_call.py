"""A call of two hours through Encoder -> loss -> Decoder: checks that memory stays constant and integers correct.

    python -m fvc.evaluation.calls.long_call CLIP [--hours 2] [--loss 10] [--redundancy 2] [--draw-every 10] [--rtp]

The clip's motion is coded, sent over a simulated link and decoded frame by frame (`evaluation/calls/call.py`); every
tenth picture is really drawn. With `--rtp` all of it goes through the sessions of `fvc send` and `fvc receive`.
Whenever the decoder has new integers they are compared with the sender's. Prints the process's resident memory every
few minutes of call and its slope, by linear regression without the first tenth of the call. Exit code 1 if integers
differ. Simulated time: it runs as fast as the machine can. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.codec.call.datagram import Packetizer
from fvc.codec.call.setup import Setup
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.quantizer import to_integers
from fvc.evaluation.calls.call import Played, Talk, call, coded, load_talk, rtp_call, with_interval
from fvc.evaluation.calls.channel import Channel, Link

_RTP_ALLOWANCE = 0.1  # seconds of playout delay for jitter


def resident_kib() -> int:
    """This process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


class SparseDraw:
    """The real draw network, called for every n-th picture only; in between the last one is repeated."""

    def __init__(self, talk: Talk, every: int) -> None:
        self._draw = talk.draw()
        self._every, self._asked, self._picture = every, 0, np.zeros((256, 256, 3), np.uint8)

    def __call__(self, inputs: DrawInputs) -> np.ndarray:
        """uint8 [256, 256, 3]."""
        if self._asked % self._every == 0:
            self._picture = self._draw(inputs)
        self._asked += 1
        return self._picture

    @property
    def drawn(self) -> int:
        """Pictures that were really drawn."""
        return -(-self._asked // self._every)


class Truth:
    """The integers that the sender coded, by frame."""

    def __init__(self, talk: Talk) -> None:
        header = talk.header
        self._talk = talk
        self._integers = [
            None if sample is None else {part: v.tolist() for part, v in to_integers(sample, header.quantizers).items()}
            for sample in talk.samples
        ]

    def agrees(self, played: Played) -> bool:
        """Whether the newest integers of the decoder are the sender's; nothing decoded yet counts as agreement."""
        if played.decoder.last is None:
            return True
        number, integers = played.decoder.last
        return integers == self._integers[self._talk.clip_frame(number)]


def slope(minutes: Sequence[float], kib: Sequence[int]) -> float:
    """KiB per hour of call, by linear regression, without the first tenth of the call."""
    kept = [(m, k) for m, k in zip(minutes, kib, strict=True) if m >= minutes[-1] / 10]
    if len(kept) < 2:
        return 0.0
    m, k = np.array(kept, float).T
    return float(np.polyfit(m / 60, k, 1)[0])


def long_call(talk: Talk, options: Any) -> dict[str, Any]:
    """Plays the call; returns its figures."""
    header = with_interval(talk.header, options.keyframe_interval)
    draw, fps, started = SparseDraw(talk, options.draw_every), float(header.fps), time.monotonic()
    frames = round(3600 * options.hours * fps)
    channel, packetizer = Channel(Link(options.loss / 100), options.seed), Packetizer(options.redundancy)
    packets = islice(coded(talk, header, options.refresh), frames)
    if options.rtp:
        setup, seconds = Setup(header, talk.source_set), options.delay / fps + _RTP_ALLOWANCE
        plays = rtp_call(setup, packets, packetizer, channel, talk.renderer(draw), seconds)
    else:
        plays = call(header, packets, packetizer, channel, talk.renderer(draw), options.delay)
    log, played = _CallLog(Truth(talk), fps, options.report_minutes), None
    for played in plays:
        log.add(played)
    assert played is not None
    tally = played.decoder.tally
    return {
        "hours": options.hours,
        "frames": frames,
        "sent": channel.sent,
        "lost": channel.lost,
        "drawn": draw.drawn,
        "decoded": tally.decoded,
        "concealed": tally.concealed,
        "held": tally.held,
        "recovered": tally.recovered,
        **log.report(),
        "seconds": round(time.monotonic() - started),
    }


class _CallLog:
    """Compares integers at every frame and reads the memory every few minutes of call."""

    def __init__(self, truth: Truth, fps: float, report_minutes: float) -> None:
        self._truth = truth
        self._fps = fps
        self._every = max(round(60 * fps * report_minutes), 1)  # frames
        self._minutes: list[float] = []
        self._kib: list[int] = []
        self._compared = self._in_sync = self._wrong = 0

    def add(self, played: Played) -> None:
        """One frame."""
        last, index = played.decoder.last, played.frame.index
        self._compared += last is not None
        self._in_sync += last is not None and last[0] == index
        self._wrong += not self._truth.agrees(played)
        if index % self._every == 0:
            self._minutes.append(index / self._fps / 60)
            self._kib.append(resident_kib())
            memory = f"{self._minutes[-1]:7.1f} min  RSS {self._kib[-1]:8d} KiB"
            print(f"{memory}  in sync {self._in_sync:7d}  wrong {self._wrong}", flush=True)

    def report(self) -> dict[str, Any]:
        """Figures of integers and memory."""
        return {
            "compared": self._compared,
            "wrong": self._wrong,
            "rss_first_kib": self._kib[0],
            "rss_last_kib": self._kib[-1],
            "rss_max_kib": max(self._kib),
            "rss_slope_kib_per_hour": round(slope(self._minutes, self._kib), 1),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--loss", type=float, default=10.0, help="percent")
    parser.add_argument("--redundancy", type=int, default=2, help="copies of each frame")
    parser.add_argument("--delay", type=int, default=1, help="playout delay in frames")
    parser.add_argument("--keyframe-interval", type=float, default=5.0, help="seconds")
    parser.add_argument("--refresh", type=int, default=4, help="slices of a keyframe; 0: whole")
    parser.add_argument("--rtp", action="store_true", help="through the sessions of fvc send and fvc receive")
    parser.add_argument("--draw-every", type=int, default=10)
    parser.add_argument("--report-minutes", type=float, default=5.0)
    parser.add_argument("--profile", default="sup+unsup+expr")
    parser.add_argument("--fps", default="15")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    try:
        report = long_call(load_talk(options.clip, options.profile, options.fps, with_landmarks=False), options)
    except FvcError as error:
        print(f"fvc: {error}", file=sys.stderr)
        return error.exit_code
    for name, value in report.items():
        print(f"{name:>24}  {value}")
    if options.json:
        options.json.write_text(json.dumps(report))
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
