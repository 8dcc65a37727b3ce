"""A simulated call: a clip's motion, looped, through Encoder -> Packetizer -> Channel -> Depacketizer -> Decoder.

The clip is encoded once with `fvc encode`. Its integers, played forwards and backwards so that the face never jumps,
are then coded again frame by frame for as long as the call lasts. Times are simulated, nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fvc.codec.call.datagram import Depacketizer, Packetizer
from fvc.codec.call.receive_session import ReceiveSession
from fvc.codec.call.send_session import SendSession
from fvc.codec.call.setup import Setup
from fvc.codec.decoder import Decoder
from fvc.codec.face.crop import cut
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.quantizer import to_sample
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.reassembly import MotionDecoder
from fvc.codec.renderer import Draw, Renderer
from fvc.codec.sample_encoder import SampleEncoder
from fvc.codec.wire.bitstream import Header, Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.evaluation import command
from fvc.evaluation.calls.channel import Channel
from fvc.models.inference.installed import InstalledModel


@dataclass(frozen=True)
class Talk:
    """A coded clip, ready to be sent.

    Attributes:
        samples: of each frame; None without a face.
        landmarks: [33, 2] in pixels of the 256x256 crop of each input frame, None where the tracker sees no face;
            empty if they were not wanted.
    """

    header: Header
    source_set: SourceSet
    samples: list[DrivingSample | None]
    landmarks: list[np.ndarray | None]

    def draw(self) -> Draw:
        """The installed networks that the clip was encoded for, with its sources."""
        model = InstalledModel.of(self.header)
        return model.renderer(self.source_set, self.header.profile, self.header.fps).draw

    def renderer(self, draw: Draw) -> Renderer:
        """One for each call; `draw` may be shared."""
        return Renderer(draw, self.source_set.samples[0].only(self.header.profile.parts), self.header.fps)

    def clip_frame(self, frame: int) -> int:
        """The clip's frame that a call shows as its frame number `frame`, playing forwards and backwards."""
        period = max(2 * len(self.samples) - 2, 1)
        return min(frame % period, period - frame % period)


def load_talk(video: Path, profile: str, fps: str, with_landmarks: bool = True) -> Talk:
    """Encodes a clip and reads its stream back. Raises FvcError."""
    with TemporaryDirectory() as folder:
        stream = Path(folder) / "talk.fvc"
        command.run("encode", video, stream, "--profile", profile, "--fps", fps, "--no-audio", "--no-canvas")
        return read_talk(video, stream, with_landmarks)


def read_talk(video: Path, stream: Path, with_landmarks: bool = True) -> Talk:
    """Reads the stream of a clip; the source set is beside it.

    Args:
        with_landmarks: whether the landmarks of the input's frames are tracked, too.
    """
    source_set, samples = SourceSet.parse(stream.with_suffix(".fvs").read_bytes()), list[DrivingSample | None]()
    with open(stream, "rb") as file:
        reader = StreamReader(file)
        header, motion = reader.header, MotionDecoder(reader.header)
        for packet in reader.packets():
            if not isinstance(packet, Packet) or packet.kind in (Kind.AUDIO, Kind.LAYER):
                continue
            integers = motion.decode(packet)
            samples.append(to_sample(integers, header.quantizers) if integers else None)
    landmarks: list[np.ndarray | None] = []
    if with_landmarks:
        with VideoReader(video) as frames, FaceTracker(still=True) as tracker:
            for frame in frames.frames(header.fps):
                face = tracker.track(cut(frame.rgb, header.crop))
                landmarks.append(face.sup if face else None)
    return Talk(header, source_set, samples, landmarks)


def coded(talk: Talk, header: Header, refresh: int = 0) -> Iterator[Packet]:
    """The call's packets, without end; keyframe interval and quantizers are those of `header`."""
    encoder, number = SampleEncoder(header, refresh), 0
    while True:
        sample = talk.samples[talk.clip_frame(number)]
        if sample is None:
            yield encoder.hold(number)
        else:
            yield encoder.encode(number, sample)
        number += 1


def rtp_call(
    setup: Setup,
    packets: Iterable[Packet],
    packetizer: Packetizer,
    channel: Channel,
    renderer: Renderer,
    delay: float,
) -> Iterator[Played]:
    """Plays a call through both sessions of `fvc send` and `fvc receive`, their RTP, set-up and playout clock.

    Only RTP packets go over the channel; set-up and answers arrive at once. Times are simulated.
    """
    before, here, there = -60.0, ("sender", 0), ("receiver", 0)
    sending = SendSession(setup, packetizer, 1e9, [there], 1e9, before, seed=0)
    receiving = ReceiveSession(delay, 1e9, secret=b"")
    while not sending.is_ready:
        for data, _ in sending.datagrams_to_send(before):
            receiving.receive_datagram(data, here, before)
        if (offer := receiving.offer(before)) is not None:
            receiving.accept(offer, renderer, before)
        for data, _ in receiving.datagrams_to_send(before):
            sending.receive_datagram(data, there, before)
        before += 0.01
    for packet in packets:
        now = float(packet.number / setup.header.fps)
        sending.send(packet)
        for data, _ in sending.datagrams_to_send(now):
            channel.send(now, data)
        for data in channel.arrived(now):
            receiving.receive_datagram(data, here, now)
        for shot in receiving.play(now):
            if receiving.playing is not None:
                yield Played(Frame(shot.rgb, shot.index), packet, receiving.playing.decoder)
        receiving.datagrams_to_send(now)  # dropped: the clip's packets are fixed


def with_interval(header: Header, seconds: float) -> Header:
    """The header with another keyframe interval and no sound."""
    return replace(header, keyframe_interval=max(round(seconds * float(header.fps)), 1), audio=None)


@dataclass(frozen=True)
class Played:
    """One frame of the call as the receiver showed it; `frame.rgb` is the picture of `Renderer.draw`."""

    frame: Frame
    sent: Packet
    decoder: Decoder


def call(
    header: Header,
    packets: Sequence[Packet] | Iterator[Packet],
    packetizer: Packetizer,
    channel: Channel,
    renderer: Renderer,
    delay: int = 1,
    allowance: float = 0.03,
) -> Iterator[Played]:
    """Plays a call.

    Frame n is sent at n / fps and shown `delay` frames and `allowance` seconds (for jitter) later, with whatever has
    arrived by then.
    """
    depacketizer, decoder = Depacketizer(header), Decoder(header, renderer)
    fps, waiting = float(header.fps), list[Packet]()
    for packet in packets:
        waiting.append(packet)
        for datagram in packetizer.add(packet):
            channel.send(packet.number / fps, datagram)
        if len(waiting) <= delay:
            continue
        for datagram in channel.arrived(packet.number / fps + allowance):
            for arrived in depacketizer.add(datagram):
                decoder.put(arrived)
        sent = waiting.pop(0)
        yield Played(decoder.show(sent.number), sent, decoder)
