"""The stages of sender and receiver, each timed by itself in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder, Found, MotionNetwork
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.wire.bitstream import Header, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.installed import InstalledModel

SENDER, RECEIVER = ("track", "code"), ("decode", "draw")  # the stages that a frame waits for
_WARM_UP = 3  # pictures that are drawn before timing starts


def quantiles(milliseconds: np.ndarray, decimals: int) -> dict[str, float]:
    """Median and 95th percentile."""
    return {
        "ms": round(float(np.median(milliseconds)), decimals),
        "p95_ms": round(float(np.quantile(milliseconds, 0.95)), decimals),
    }


class Stage:
    """A stopwatch for one stage: wall and CPU time of each frame."""

    def __init__(self) -> None:
        self._wall: list[float] = []  # milliseconds
        self._cpu = 0.0  # milliseconds

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Runs the work of a frame and returns its result."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = work(*arguments)
        self._wall.append(1000 * (time.perf_counter() - wall))
        self._cpu += 1000 * (time.process_time() - cpu)
        return result

    def each(self, items: Iterable[Any]) -> list[Any]:
        """Takes all items from an iterable, and times each."""
        source, found = iter(items), []
        while (item := self(next, source, None)) is not None:
            found.append(item)
        self._wall.pop()  # of the end
        return found

    @property
    def wall(self) -> np.ndarray:
        """Milliseconds of each frame."""
        return np.array(self._wall)

    def report(self) -> dict[str, float]:
        """Median and 95th percentile of the wall time, mean of the CPU time, milliseconds per frame."""
        return {**quantiles(self.wall, 3), "cpu_ms": round(self._cpu / len(self._wall), 3)}


@dataclass(frozen=True)
class StageTimes:
    """The stopwatches of all stages; "network" is a part of "code", in profiles that have one.

    Attributes:
        pictures: what each frame shows, uint8 [S, S, 3].
        drawn: whether it was drawn; else the last picture is held.
    """

    stages: dict[str, Stage]
    pictures: list[np.ndarray]
    drawn: list[bool]

    def of_both_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds of each frame: at the sender, and at the receiver."""
        drawing = np.zeros(len(self.drawn))
        drawing[self.drawn] = self.stages["draw"].wall
        walls = {name: stage.wall for name, stage in self.stages.items()} | {"draw": drawing}
        sender, receiver = (np.sum([walls[name] for name in end], axis=0) for end in (SENDER, RECEIVER))
        return np.asarray(sender), np.asarray(receiver)


def time_stages(video: Path, stream: Path, preset: str, count: int) -> StageTimes:
    """Times the first `count` frames of a video.

    Args:
        stream: the .fvc that `fvc encode` made of the video, with its .fvs in the same folder.
    """
    stages = {name: Stage() for name in ("read", "track", "code", "decode", "draw", "write")}
    with open(stream, "rb") as file:
        header = StreamReader(file).header
    model = InstalledModel.named(preset)
    with VideoReader(video) as reader:
        frames = stages["read"].each(islice(reader.frames(header.fps), count))
    packets = _time_sender(stages, frames, header, model)
    source_set = SourceSet.parse(stream.with_suffix(".fvs").read_bytes())
    pictures, drawn = _time_receiver(stages, packets, header, model, source_set)
    _time_writing(stages["write"], pictures, header.fps, stream.with_name("stage.mp4"))
    return StageTimes(stages, pictures, drawn)


def _time_sender(stages: dict[str, Stage], frames: list[Frame], header: Header, model: InstalledModel) -> list[Packet]:
    with FaceTracker() as tracker:
        tracker.track(frames[0].rgb)  # loads the tracker
        faces = [stages["track"](tracker.track, frame.rgb) for frame in frames]
    network: MotionNetwork | None = model.motion(header.profile)
    timed = network
    if network is not None:
        stages["network"] = Stage()
        timed = partial(stages["network"], network)
    encoder = Encoder(header, timed, plan=ConstantQuality())
    landmarks = [None if face is None else face.sup for face in faces]
    pairs = zip(frames, landmarks, strict=True)
    return [stages["code"](encoder.encode, frame, Found(sup)) for frame, sup in pairs]


def _time_receiver(
    stages: dict[str, Stage], packets: list[Packet], header: Header, model: InstalledModel, source_set: SourceSet
) -> tuple[list[np.ndarray], list[bool]]:
    renderer = model.renderer(source_set, header.profile, header.fps)
    decoder = Decoder(header, renderer)

    def decode(packet: Packet) -> DrawInputs | None:
        decoder.put(packet)
        return decoder.next(packet.number)

    shown = [stages["decode"](decode, packet) for packet in packets]
    for inputs in [inputs for inputs in shown if inputs is not None][:_WARM_UP]:
        renderer.draw(inputs)
    pictures: list[np.ndarray] = []
    blank = np.zeros((renderer.side, renderer.side, 3), np.uint8)  # until the first face
    for inputs in shown:  # a held frame repeats the last picture, and is not drawn
        pictures.append((pictures or [blank])[-1] if inputs is None else stages["draw"](renderer.draw, inputs))
    return pictures, [inputs is not None for inputs in shown]


def _time_writing(stage: Stage, pictures: list[np.ndarray], fps: Fraction, path: Path) -> None:
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, fps) as writer:
        for picture in pictures:
            stage(writer.write, picture)
